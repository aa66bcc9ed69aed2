/* Requests, what each has of its own: forms of the question, steps, pages, names from the cache, numbers. */
#include "kinds.h"

/* The i-th stream, of that method; its request is in *m, if that is wanted. */
static stream_t *asked(world_t *w, size_t i, const char *method, ensign_slice_t *m)
{
    stream_t *s = world_stream(w, i);
    ensign_slice_t bytes = world_request(w, s);
    const char *path = strrchr(peer_field(s, ":path"), '/') + 1;
    if (strcmp(path, method) != 0) world_fail(w, "stream %zu asks %s instead of %s", i, path, method);
    if (m) *m = bytes;
    return s;
}

static void answer(stream_t *s, bytes_t *m)
{
    peer_send(s, m);
    peer_finish(s, 0, NULL, NULL);
}

static void refused(world_t *w, uint32_t id, int code, const char *word)
{
    const ensign_error_t *e = ensign_error(w->client);
    assert_int_equal(id, 0);
    assert_int_equal(e->code, code);
    if (!strstr(e->text, word)) world_fail(w, "no \"%s\" in: %s", word, e->text);
}

/* ------------------------------------------------------------------ create, ensure */
SCRIPT(a_policy_has_its_limits)
{
    static char key[4 * 1024 * 1024];
    static const char *const keys[] = { key };
    ensign_ulid_t id = ulid_of(weather_id);
    ensign_dedup_t d;
    memset(&d, 0, sizeof d);
    memset(key, 'k', sizeof key - 1);
    d.strategy = ENSIGN_DEDUP_UNIQUE_KEY;
    d.keys = keys;
    d.key_count = 1;
    world_create(w);
    refused(w, ensign_topic_create(w->client, "weather", &d, NULL).id, ENSIGN_E_TOO_LARGE, "keys");
    refused(w, ensign_topic_set_dedup(w->client, id, &d, NULL).id, ENSIGN_E_TOO_LARGE, "keys");
    refused(w, ensign_topic_set_dedup(w->client, id, NULL, NULL).id, ENSIGN_E_ARGUMENT, "policy");
    key[sizeof key - 2048] = 0;
    assert_int_not_equal(ensign_topic_create(w->client, "weather", &d, NULL).id, 0);
}

SCRIPT(what_is_given_is_copied)
{
    char name[] = "weather", one[] = "k1", *keys[] = { one };
    ensign_dedup_t d;
    ensign_slice_t m, f;
    memset(&d, 0, sizeof d);
    d.strategy = ENSIGN_DEDUP_UNIQUE_KEY;
    d.keys = (const char *const *)keys;
    d.key_count = 1;
    world_create(w);
    ensign_topic_create(w->client, name, &d, NULL);
    memset(name, 'x', sizeof name);
    memset(one, 'x', sizeof one);
    keys[0] = NULL;
    asked(w, 0, "CreateTopic", &m);
    assert_true(dec_field(m, 3, &f));
    assert_text(f, "weather");
    assert_true(dec_field(m, 11, &f) && dec_field(f, 3, &f));
    assert_text(f, "k1");
}

SCRIPT(ensure_looks_then_creates)
{
    bytes_t m = {0};
    ensign_slice_t request;
    uint32_t id;
    world_create(w);
    id = ensign_topic_ensure(w->client, "weather", NULL).id;
    enc_text(&m, 2, "more");
    answer(asked(w, 0, "ListTopics", NULL), &m);
    answer(asked(w, 1, "ListTopics", &request), &m);
    assert_true(dec_field(request, 2, &request));
    assert_text(request, "more");
    record_topic(&m);
    answer(asked(w, 2, "CreateTopic", &request), &m);
    assert_slice(request, "\x1a\x07weather", 9);
    read_topic(world_expect(w, id, ENSIGN_NOTICE_TOPIC));
}

/* Somebody else makes it between the two steps; and takes it away again. */
SCRIPT(ensure_meets_another_one)
{
    bytes_t m = {0};
    uint32_t id;
    world_create(w);
    id = ensign_topic_ensure(w->client, "weather", NULL).id;
    answer(asked(w, 0, "ListTopics", NULL), &m);
    peer_refuse(asked(w, 1, "CreateTopic", NULL), ENSIGN_GRPC_ALREADY_EXISTS, "topic name already exists");
    page_of_topics(&m);
    answer(asked(w, 2, "ListTopics", NULL), &m);
    read_topic(world_expect(w, id, ENSIGN_NOTICE_TOPIC));
    id = ensign_topic_ensure(w->client, "weather", NULL).id;
    answer(asked(w, 3, "ListTopics", NULL), &m);
    peer_refuse(asked(w, 4, "CreateTopic", NULL), ENSIGN_GRPC_ALREADY_EXISTS, "topic name already exists");
    answer(asked(w, 5, "ListTopics", NULL), &m);
    assert_true(world_expect(w, id, ENSIGN_NOTICE_END)->error->code < 0);
    world_pass(w, 60000);
    assert_int_equal(w->stream_count, 6);
}

SCRIPT(ensure_may_not_create)
{
    bytes_t m = {0};
    uint32_t id;
    world_create(w);
    id = ensign_topic_ensure(w->client, "weather", NULL).id;
    answer(asked(w, 0, "ListTopics", NULL), &m);
    peer_refuse(asked(w, 1, "CreateTopic", NULL), ENSIGN_GRPC_PERMISSION_DENIED, "not authorized");
    kind_failed(w, id, ENSIGN_E_PERMISSION_DENIED);
}

/* What came with the refusal is no part of the answer that the next token gets. */
SCRIPT(bytes_before_a_refusal_are_dropped)
{
    bytes_t m = {0};
    stream_t *s;
    uint32_t id;
    world_create_with_key(w);
    id = ensign_topic_create(w->client, "weather", NULL, NULL).id;
    s = asked(w, 0, "CreateTopic", NULL);
    peer_open(s);
    peer_raw(s, "\0\0\0\0\3ab", 7);
    peer_finish(s, ENSIGN_GRPC_UNAUTHENTICATED, "invalid credentials", NULL);
    record_topic(&m);
    answer(asked(w, 1, "CreateTopic", NULL), &m);
    read_topic(world_expect(w, id, ENSIGN_NOTICE_TOPIC));
}

/* Each step may meet a token that has run out on the way. */
SCRIPT(each_step_may_replace_the_token)
{
    bytes_t m = {0};
    uint32_t id;
    world_create_with_key(w);
    id = ensign_topic_ensure(w->client, "weather", NULL).id;
    peer_refuse(asked(w, 0, "ListTopics", NULL), ENSIGN_GRPC_UNAUTHENTICATED, "invalid credentials");
    answer(asked(w, 1, "ListTopics", NULL), &m);
    peer_refuse(asked(w, 2, "CreateTopic", NULL), ENSIGN_GRPC_UNAUTHENTICATED, "invalid credentials");
    record_topic(&m);
    answer(asked(w, 3, "CreateTopic", NULL), &m);
    read_topic(world_expect(w, id, ENSIGN_NOTICE_TOPIC));
    assert_int_equal(w->access_serial, 3);
}

SCRIPT(the_time_is_for_all_steps)
{
    bytes_t m = {0};
    uint64_t began;
    uint32_t id;
    stream_t *s;
    w->desc.request_timeout_ms = 700;
    world_create(w);
    id = ensign_topic_ensure(w->client, "weather", NULL).id;
    began = w->now;
    s = asked(w, 0, "ListTopics", NULL);
    world_pass(w, 400);
    answer(s, &m);
    asked(w, 1, "CreateTopic", NULL);
    kind_failed(w, id, ENSIGN_E_DEADLINE_EXCEEDED);
    assert_in_range(w->now - began, 700, 710);
}

/* ------------------------------------------------------------------ exists, find */
SCRIPT(exists_by_name_or_id)
{
    ensign_ulid_t id = ulid_of(weather_id);
    bytes_t m = {0}, want = {0};
    ensign_slice_t request;
    size_t i;
    world_create(w);
    for (i = 0; i < 3; i++) {
        uint32_t r = ensign_topic_exists(w->client, i == 1 ? NULL : "weather", i ? &id : NULL, NULL).id;
        stream_t *s = asked(w, i, "TopicExists", &request);
        if (i > 0) enc_text(&want, 1, weather_ulid);
        if (i != 1) enc_text(&want, 3, "weather");
        assert_slice(request, want.p, want.len);
        bytes_free(&want);
        enc_text(&m, 1, "query");
        if (i == 2) enc_uint(&m, 2, 1);
        answer(s, &m);
        assert_int_equal(world_expect(w, r, ENSIGN_NOTICE_EXISTS)->as.exists.exists, i == 2);
    }
    refused(w, ensign_topic_exists(w->client, NULL, NULL, NULL).id, ENSIGN_E_ARGUMENT, "name");
    refused(w, ensign_topic_exists(w->client, "", NULL, NULL).id, ENSIGN_E_ARGUMENT, "name");
    refused(w, ensign_topic_exists(w->client, "no spaces", NULL, NULL).id, ENSIGN_E_ARGUMENT, "no spaces");
}

SCRIPT(bad_names_are_told)
{
    world_create(w);
    refused(w, ensign_topic_by_name(w->client, "4u", NULL).id, ENSIGN_E_ARGUMENT, "4u");
    refused(w, ensign_topic_ensure(w->client, NULL, NULL).id, ENSIGN_E_ARGUMENT, "letter");
    world_pass(w, 1000);
    assert_int_equal(w->stream_count, 0);
}

/* A record whose bytes are no Topic costs only itself. */
SCRIPT(find_passes_bad_records_over)
{
    bytes_t m = {0};
    uint32_t id;
    world_create(w);
    id = ensign_topic_by_name(w->client, "weather", NULL).id;
    enc_bytes(&m, 1, "\x0a\xff", 2);
    enc_bytes(&m, 1, "", 0);
    page_of_topics(&m);
    answer(asked(w, 0, "ListTopics", NULL), &m);
    read_topic(world_expect(w, id, ENSIGN_NOTICE_TOPIC));
}

/* ------------------------------------------------------------------ pages */
SCRIPT(reading_a_page_takes_no_time)
{
    bytes_t m = {0};
    stream_t *s;
    uint32_t id;
    int i;
    w->desc.request_timeout_ms = 700;
    world_create(w);
    id = ensign_topic_list(w->client, NULL).id;
    for (i = 0; i < 3; i++) {
        s = asked(w, (size_t)i, "ListTopics", NULL);
        world_pass(w, 600);
        page_of_topics(&m);
        page_of_topics(&m);
        if (i < 2) enc_text(&m, 2, "more");
        answer(s, &m);
        read_topic(world_expect(w, id, ENSIGN_NOTICE_TOPIC));
        world_pass(w, 100000);
        read_topic(world_expect(w, id, ENSIGN_NOTICE_TOPIC));
    }
    assert_int_equal(world_end(w, id, ENSIGN_GRPC_OK)->as.end.count, 6);
}

/* What was given before counts in the END. */
SCRIPT(a_list_that_breaks_off)
{
    bytes_t m = {0};
    const ensign_notice_t *n;
    uint32_t id;
    world_create(w);
    id = ensign_topic_list(w->client, NULL).id;
    page_of_topics(&m);
    page_of_topics(&m);
    enc_text(&m, 2, "more");
    answer(asked(w, 0, "ListTopics", NULL), &m);
    world_expect(w, id, ENSIGN_NOTICE_TOPIC);
    world_expect(w, id, ENSIGN_NOTICE_TOPIC);
    peer_refuse(asked(w, 1, "ListTopics", NULL), ENSIGN_GRPC_INTERNAL, "unable to process");
    n = world_expect(w, id, ENSIGN_NOTICE_END);
    assert_int_equal(n->error->code, ENSIGN_E_INTERNAL);
    assert_int_equal(n->as.end.count, 2);
}

/* The page in hand is read to its end, whatever becomes of the connection; the next one comes over another. */
SCRIPT(a_list_outlives_its_connection)
{
    bytes_t m = {0};
    stream_t *s;
    uint32_t id;
    world_create(w);
    id = ensign_topic_list(w->client, NULL).id;
    page_of_topics(&m);
    page_of_topics(&m);
    enc_text(&m, 2, "more");
    answer(asked(w, 0, "ListTopics", NULL), &m);
    read_topic(world_expect(w, id, ENSIGN_NOTICE_TOPIC));
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    world_pass(w, 1000);
    read_topic(world_expect(w, id, ENSIGN_NOTICE_TOPIC));
    s = asked(w, 1, "ListTopics", NULL);
    assert_int_equal(s->conn->number, 1);
    answer(s, &m);
    assert_int_equal(world_end(w, id, ENSIGN_GRPC_OK)->as.end.count, 2);
}

SCRIPT(a_list_finishes_while_the_client_closes)
{
    bytes_t m = {0};
    uint32_t id;
    world_create(w);
    id = ensign_topic_list(w->client, NULL).id;
    page_of_topics(&m);
    enc_text(&m, 2, "more");
    answer(asked(w, 0, "ListTopics", NULL), &m);
    world_until(w, ensign_pending(w->client, id));
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 5000), ENSIGN_OK);
    world_pass(w, 1000);
    read_topic(world_expect(w, id, ENSIGN_NOTICE_TOPIC));
    page_of_topics(&m);
    answer(asked(w, 1, "ListTopics", NULL), &m);
    read_topic(world_expect(w, id, ENSIGN_NOTICE_TOPIC));
    assert_int_equal(world_end(w, id, ENSIGN_GRPC_OK)->as.end.count, 2);
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED);
}

SCRIPT(a_list_is_forgotten_half_way)
{
    const ensign_notice_t *n;
    bytes_t m = {0};
    stream_t *s;
    uint32_t id;
    world_create(w);
    id = ensign_topic_list(w->client, NULL).id;
    page_of_topics(&m);
    enc_text(&m, 2, "more");
    answer(asked(w, 0, "ListTopics", NULL), &m);
    read_topic(world_expect(w, id, ENSIGN_NOTICE_TOPIC));
    s = asked(w, 1, "ListTopics", NULL);
    assert_int_equal(ensign_forget(w->client, id), ENSIGN_OK);
    world_until(w, s->reset);
    assert_int_equal(s->reset_code, NGHTTP2_CANCEL);
    while ((n = world_pull(w, 0)) != NULL) assert_int_equal(n->handle, ENSIGN_CLIENT);
    world_pass(w, 60000);
    assert_int_equal(w->stream_count, 2);
}

SCRIPT(a_held_list_waits)
{
    bytes_t m = {0};
    uint32_t id;
    world_create(w);
    id = ensign_topic_list(w->client, NULL).id;
    page_of_topics(&m);
    answer(asked(w, 0, "ListTopics", NULL), &m);
    assert_int_equal(ensign_hold(w->client, id, true), ENSIGN_OK);
    world_settle(w);
    world_hear(w);
    assert_null(world_pull(w, 0));
    world_pass(w, 100000);
    assert_int_equal(ensign_hold(w->client, id, false), ENSIGN_OK);
    assert_int_equal(world_next(w, 0)->handle, id);
}

/* ------------------------------------------------------------------ memory */
/* A page that a topic is lent from, and the next one: both as large as they may be. */
SCRIPT(large_pages_stay_within_the_bound)
{
    static char filler[4 * 1024 * 1024 - 1000];
    size_t bound, i;
    bytes_t m = {0};
    uint32_t id;
    if (w->mode == BYTE) return;
    world_create(w);
    bound = ensign_memory_bound(&w->desc) + ensign_request_memory_bound(&w->desc);
    id = ensign_topic_list(w->client, NULL).id;
    for (i = 0; i < 3; i++) {
        page_of_topics(&m);
        enc_bytes(&m, 99, filler, sizeof filler);
        enc_text(&m, 2, i < 2 ? "more" : "");
        answer(asked(w, i, "ListTopics", NULL), &m);
        read_topic(world_expect(w, id, ENSIGN_NOTICE_TOPIC));
    }
    world_end(w, id, ENSIGN_GRPC_OK);
    assert_in_range(w->live_peak, sizeof filler, bound);
}

SCRIPT(large_questions_stay_within_the_bound)
{
    static char key[4 * 1024 * 1024 - 2048];
    static const char *const keys[] = { key };
    ensign_dedup_t d;
    ensign_slice_t request;
    size_t bound;
    bytes_t m = {0};
    uint32_t id;
    if (w->mode == BYTE) return;
    memset(&d, 0, sizeof d);
    memset(key, 'k', sizeof key - 1);
    d.strategy = ENSIGN_DEDUP_UNIQUE_KEY;
    d.keys = keys;
    d.key_count = 1;
    world_create_with_key(w);
    bound = ensign_memory_bound(&w->desc) + ensign_request_memory_bound(&w->desc);
    id = ensign_topic_create(w->client, "weather", &d, NULL).id;
    peer_refuse(asked(w, 0, "CreateTopic", NULL), ENSIGN_GRPC_UNAUTHENTICATED, "once more");
    record_topic(&m);
    answer(asked(w, 1, "CreateTopic", &request), &m);
    assert_true(request.len > sizeof key);
    read_topic(world_expect(w, id, ENSIGN_NOTICE_TOPIC));
    assert_in_range(w->live_peak, sizeof key, bound);
}

/* ------------------------------------------------------------------ names */
static void expect_name(world_t *w, uint32_t id, const uint8_t *topic, const char *name)
{
    const ensign_notice_t *n = world_expect(w, id, ENSIGN_NOTICE_TOPIC);
    assert_memory_equal(n->as.topic->id.b, topic, 16);
    assert_memory_equal(n->as.topic->project_id.b, project_id, 16);
    assert_text(n->as.topic->name, name);
    assert_false(n->last);
}

static void know_weather(world_t *w)
{
    bytes_t m = {0};
    uint32_t id = ensign_topic_by_id(w->client, ulid_of(weather_id), NULL).id;
    record_topic(&m);
    answer(asked(w, w->stream_count, "RetrieveTopic", NULL), &m);
    world_expect(w, id, ENSIGN_NOTICE_TOPIC);
}

static uint32_t ask_names(world_t *w, const char *hash)
{
    bytes_t m = {0};
    uint32_t id = ensign_topic_names(w->client, NULL).id;
    name_entry(&m, weather_ulid, hash);
    name_entry(&m, "3ME9GPCSK9CCPPJS1D64V64YBM", "o_DDv08Xvyr0SljO0kfvRg");
    answer(asked(w, w->stream_count, "TopicNames", NULL), &m);
    return id;
}

SCRIPT(names_that_are_known)
{
    uint32_t id;
    world_create(w);
    id = ask_names(w, weather_hash);
    expect_name(w, id, weather_id, "");
    expect_name(w, id, traffic_id, "");
    assert_int_equal(world_end(w, id, ENSIGN_GRPC_OK)->as.end.count, 2);
    know_weather(w);
    id = ask_names(w, weather_hash);
    expect_name(w, id, weather_id, "weather");
    expect_name(w, id, traffic_id, "");
    world_end(w, id, ENSIGN_GRPC_OK);
    id = ask_names(w, "_-U90Jg-FpXZuwSYJgPkHg");       /* of "alpha" */
    expect_name(w, id, weather_id, "");
    expect_name(w, id, traffic_id, "");
    world_end(w, id, ENSIGN_GRPC_OK);
}

static void both_names_are_known(world_t *w)
{
    uint32_t id = ask_names(w, weather_hash);
    expect_name(w, id, weather_id, "weather");
    expect_name(w, id, traffic_id, "traffic");
    world_end(w, id, ENSIGN_GRPC_OK);
}

SCRIPT(names_without_a_cache)
{
    uint32_t id;
    w->desc.topic_cache = ENSIGN_OFF;
    world_create(w);
    know_weather(w);
    id = ask_names(w, weather_hash);
    expect_name(w, id, weather_id, "");
    expect_name(w, id, traffic_id, "");
    world_end(w, id, ENSIGN_GRPC_OK);
}

/* Topics that a list gives, or that are passed over on the way to another one, are remembered. */
SCRIPT(names_that_a_list_has_told)
{
    bytes_t m = {0};
    uint32_t id;
    world_create(w);
    id = ensign_topic_list(w->client, NULL).id;
    page_of_topics(&m);
    answer(asked(w, 0, "ListTopics", NULL), &m);
    world_end(w, id, ENSIGN_GRPC_OK);
    id = ensign_topic_by_name(w->client, "traffic", NULL).id;
    service_topic(&m, 1, "traffic", traffic_id);
    answer(asked(w, 1, "ListTopics", NULL), &m);
    world_expect(w, id, ENSIGN_NOTICE_TOPIC);
    both_names_are_known(w);
}

/* The map that a stream brings is in the cache too. */
SCRIPT(names_that_a_stream_has_brought)
{
    ensign_subscription_desc_t d;
    ensign_subscription_t sub;
    memset(&d, 0, sizeof d);
    world_create(w);
    sub = ensign_subscription_open(w->client, &d);
    service_ready(asked(w, 0, "Subscribe", NULL), 2);
    world_await(w, sub.id, ENSIGN_NOTICE_OPEN);
    both_names_are_known(w);
}

SCRIPT(names_with_bad_records)
{
    bytes_t m = {0};
    uint32_t id;
    world_create(w);
    id = ensign_topic_names(w->client, NULL).id;
    name_entry(&m, "no ULID", weather_hash);
    enc_bytes(&m, 1, "\xff", 1);
    name_entry(&m, weather_ulid, weather_hash);
    answer(asked(w, 0, "TopicNames", NULL), &m);
    expect_name(w, id, weather_id, "");
    assert_int_equal(world_end(w, id, ENSIGN_GRPC_OK)->as.end.count, 1);
}

/* ------------------------------------------------------------------ info */
SCRIPT(info_in_its_order)
{
    bytes_t m = {0}, t = {0};
    const ensign_notice_t *n;
    uint32_t id;
    world_create(w);
    know_weather(w);
    id = ensign_info(w->client, NULL, 0, NULL).id;
    info_project(&m, 3);
    info_topic(&t, weather_id, 7);
    info_type(&t, "Report", 50, 3);
    info_type(&t, "Unspecified", 0, 4);
    enc_message(&m, 15, &t);
    enc_bytes(&t, 1, "no-events-of-it!", 16);          /* not yet counted */
    enc_message(&m, 15, &t);
    info_topic(&t, traffic_id, 9);
    info_type(&t, "Jam", 1, 9);
    enc_message(&m, 15, &t);
    answer(asked(w, 1, "Info", NULL), &m);
    assert_int_equal(world_expect(w, id, ENSIGN_NOTICE_PROJECT)->as.project->topics, 3);
    n = world_expect(w, id, ENSIGN_NOTICE_TOPIC_INFO);
    read_topic_info(n->as.topic_info, weather_id, 7);
    assert_text(n->as.topic_info->name, "weather");
    read_type_info(world_expect(w, id, ENSIGN_NOTICE_TYPE_INFO)->as.type_info, "Report", 50, 3);
    read_type_info(world_expect(w, id, ENSIGN_NOTICE_TYPE_INFO)->as.type_info, "Unspecified", 0, 4);
    n = world_expect(w, id, ENSIGN_NOTICE_TOPIC_INFO);
    assert_memory_equal(n->as.topic_info->id.b, "no-events-of-it!", 16);
    assert_memory_equal(n->as.topic_info->last_event.b, "\0\0\0\0\0\0\0\0\0\0", 10);
    assert_int_equal(n->as.topic_info->events, 0);
    assert_int_equal(n->as.topic_info->modified.seconds, 0);
    assert_text(n->as.topic_info->name, "");
    n = world_expect(w, id, ENSIGN_NOTICE_TOPIC_INFO);
    read_topic_info(n->as.topic_info, traffic_id, 9);
    assert_text(n->as.topic_info->name, "");
    read_type_info(world_expect(w, id, ENSIGN_NOTICE_TYPE_INFO)->as.type_info, "Jam", 1, 9);
    assert_int_equal(world_end(w, id, ENSIGN_GRPC_OK)->as.end.count, 3);
}

SCRIPT(info_of_an_empty_project)
{
    bytes_t m = {0};
    ensign_slice_t request;
    uint32_t id;
    world_create(w);
    id = ensign_info(w->client, NULL, 0, NULL).id;
    info_project(&m, 0);
    answer(asked(w, 0, "Info", &request), &m);
    assert_int_equal(request.len, 0);
    assert_int_equal(world_expect(w, id, ENSIGN_NOTICE_PROJECT)->as.project->topics, 0);
    assert_int_equal(world_end(w, id, ENSIGN_GRPC_OK)->as.end.count, 0);
}

SCRIPT(info_with_bad_records)
{
    bytes_t m = {0}, t = {0};
    uint32_t id;
    world_create(w);
    id = ensign_info(w->client, NULL, 0, NULL).id;
    info_project(&m, 2);
    enc_bytes(&m, 15, "\x0a\x7f", 2);
    info_topic(&t, weather_id, 7);
    enc_bytes(&t, 14, "\x0a\x7f", 2);
    info_type(&t, "Report", 50, 3);
    enc_message(&m, 15, &t);
    enc_bytes(&m, 15, "\xff", 1);
    answer(asked(w, 0, "Info", NULL), &m);
    world_expect(w, id, ENSIGN_NOTICE_PROJECT);
    read_topic_info(world_expect(w, id, ENSIGN_NOTICE_TOPIC_INFO)->as.topic_info, weather_id, 7);
    read_type_info(world_expect(w, id, ENSIGN_NOTICE_TYPE_INFO)->as.type_info, "Report", 50, 3);
    assert_int_equal(world_end(w, id, ENSIGN_GRPC_OK)->as.end.count, 1);
}

/* Numbers that are read slowly: the answer is here, so neither time nor the connection matters. */
SCRIPT(info_is_read_at_leisure)
{
    bytes_t m = {0}, t = {0};
    uint32_t id;
    int i;
    world_create(w);
    id = ensign_info(w->client, NULL, 0, NULL).id;
    info_project(&m, 20);
    for (i = 0; i < 20; i++) {
        info_topic(&t, weather_id, 7);
        info_type(&t, "Report", 50, 3);
        enc_message(&m, 15, &t);
    }
    answer(asked(w, 0, "Info", NULL), &m);
    world_expect(w, id, ENSIGN_NOTICE_PROJECT);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    for (i = 0; i < 20; i++) {
        world_pass(w, 10000);
        read_topic_info(world_expect(w, id, ENSIGN_NOTICE_TOPIC_INFO)->as.topic_info, weather_id, 7);
        read_type_info(world_expect(w, id, ENSIGN_NOTICE_TYPE_INFO)->as.type_info, "Report", 50, 3);
    }
    assert_int_equal(world_end(w, id, ENSIGN_GRPC_OK)->as.end.count, 20);
}

/* ------------------------------------------------------------------ explain, status, health */
SCRIPT(explain_is_not_there_yet)
{
    static const char text[] = "explain query is not implemented yet";
    ensign_query_desc_t d;
    const ensign_notice_t *n;
    uint32_t id;
    memset(&d, 0, sizeof d);
    world_create(w);
    refused(w, ensign_explain(w->client, &d).id, ENSIGN_E_ARGUMENT, "sql");
    d.sql = "SELECT * FROM weather";
    id = ensign_explain(w->client, &d).id;
    peer_refuse(asked(w, 0, "Explain", NULL), ENSIGN_GRPC_UNIMPLEMENTED, text);
    n = kind_failed(w, id, ENSIGN_E_UNIMPLEMENTED);
    assert_text(n->as.end.text, text);
    assert_non_null(strstr(n->error->text, text));
}

SCRIPT(a_status_that_tells_nothing)
{
    bytes_t m = {0}, uptime = {0};
    const ensign_notice_t *n;
    uint32_t id;
    world_create(w);
    id = ensign_status(w->client, NULL).id;
    peer_message(world_stream(w, 0), "", 0);
    peer_finish(w->streams[0], 0, NULL, NULL);
    n = world_expect(w, id, ENSIGN_NOTICE_STATUS);
    assert_int_equal(n->as.status.state, ENSIGN_SERVICE_UNKNOWN);
    assert_int_equal(n->as.status.version.len, 0);
    assert_int_equal(n->as.status.uptime_ms, 0);
    assert_int_equal(n->as.status.not_before.seconds, 0);
    assert_int_equal(n->as.status.not_after.seconds, 0);
    id = ensign_status(w->client, NULL).id;
    enc_uint(&m, 1, 77);                               /* of a later server */
    enc_uint(&uptime, 1, INT64_MAX);
    enc_message(&m, 3, &uptime);
    answer(asked(w, 1, "Status", NULL), &m);
    n = world_expect(w, id, ENSIGN_NOTICE_STATUS);
    assert_int_equal(n->as.status.state, 77);
    assert_true(n->as.status.uptime_ms >= 0);
}

/* Both are asked without a token, so a dead auth service does not matter. */
SCRIPT(status_and_health_need_no_token)
{
    bytes_t m = {0};
    ensign_slice_t request;
    uint32_t id;
    w->dial[ENSIGN_LINK_AUTH] = DIAL_REFUSE;
    world_create_with_key(w);
    id = ensign_status(w->client, NULL).id;
    answer_status(&m);
    answer(asked(w, 0, "Status", NULL), &m);
    read_status(world_expect(w, id, ENSIGN_NOTICE_STATUS));
    id = ensign_health(w->client, NULL, false, NULL).id;
    enc_uint(&m, 1, 1);
    answer(asked(w, 1, "Check", &request), &m);
    assert_int_equal(request.len, 0);
    assert_int_equal(world_expect(w, id, ENSIGN_NOTICE_HEALTH)->as.health.state, ENSIGN_HEALTH_SERVING);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(a_policy_has_its_limits),
        IN_MODES(what_is_given_is_copied),
        IN_MODES(ensure_looks_then_creates),
        IN_MODES(ensure_meets_another_one),
        IN_MODES(ensure_may_not_create),
        IN_MODES(bytes_before_a_refusal_are_dropped),
        IN_MODES(each_step_may_replace_the_token),
        IN_MODES(the_time_is_for_all_steps),
        IN_MODES(exists_by_name_or_id),
        IN_MODES(bad_names_are_told),
        IN_MODES(find_passes_bad_records_over),
        IN_MODES(reading_a_page_takes_no_time),
        IN_MODES(a_list_that_breaks_off),
        IN_MODES(a_list_outlives_its_connection),
        IN_MODES(a_list_finishes_while_the_client_closes),
        IN_MODES(a_list_is_forgotten_half_way),
        IN_MODES(a_held_list_waits),
        IN_MODES(large_pages_stay_within_the_bound),
        IN_MODES(large_questions_stay_within_the_bound),
        IN_MODES(names_that_are_known),
        IN_MODES(names_without_a_cache),
        IN_MODES(names_that_a_list_has_told),
        IN_MODES(names_that_a_stream_has_brought),
        IN_MODES(names_with_bad_records),
        IN_MODES(info_in_its_order),
        IN_MODES(info_of_an_empty_project),
        IN_MODES(info_with_bad_records),
        IN_MODES(info_is_read_at_leisure),
        IN_MODES(explain_is_not_there_yet),
        IN_MODES(a_status_that_tells_nothing),
        IN_MODES(status_and_health_need_no_token),
    };
    return cmocka_run_group_tests_name("request_details", tests, NULL, NULL);
}
