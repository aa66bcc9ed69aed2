/* Requests: topics are made, found and listed; the service is asked for its state. */
#include "service.h"

enum { TOPICS_MAX = 8 };

/* A server with a few topics, in pages of two. */
static struct {
    const char *name[TOPICS_MAX];
    size_t count;
    char order[400];            /* of the methods that were called */
    unsigned asked;             /* see serve_and_cut */
    bool race;                  /* somebody else makes a topic just before us */
    ensign_slice_t created;     /* the last Topic of CreateTopic, in `keep` */
    bytes_t keep;
} server;

static void topic_id(uint8_t out[16], const char *name)
{
    memset(out, 'i', 16);
    memcpy(out, name, strlen(name) < 16 ? strlen(name) : 16);
}

static bool there(ensign_slice_t name)
{
    size_t i;
    for (i = 0; i < server.count; i++) {
        if (name.len == strlen(server.name[i]) && memcmp(name.ptr, server.name[i], name.len) == 0)
            return true;
    }
    return false;
}

static void answer_topic(stream_t *s, const char *name)
{
    bytes_t reply = {0};
    uint8_t id[16];
    topic_id(id, name);
    service_topic(&reply, 0, name, id);
    peer_send(s, &reply);
    peer_finish(s, 0, NULL, NULL);
}

static void answer_create(stream_t *s, ensign_slice_t m)
{
    static char made[TOPICS_MAX][64];
    char *name = made[server.count];
    ensign_slice_t f = { NULL, 0 };
    assert_true(server.count < TOPICS_MAX);
    bytes_free(&server.keep);
    bytes_add(&server.keep, m.ptr, m.len);
    server.created = bytes_slice(&server.keep);
    dec_field(m, 3, &f);
    snprintf(name, sizeof made[0], "%.*s", (int)f.len, (const char *)f.ptr);
    if (server.race || there(f)) {
        server.race = false;
        if (!there(f)) server.name[server.count++] = name;
        peer_refuse(s, ENSIGN_GRPC_ALREADY_EXISTS, "topic name already exists in project");
        return;
    }
    server.name[server.count++] = name;
    answer_topic(s, name);
}

static void answer_page(stream_t *s, ensign_slice_t m)
{
    bytes_t reply = {0};
    ensign_slice_t token = { NULL, 0 };
    size_t from = 0, i;
    char next[8];
    if (dec_field(m, 2, &token) && token.len == 2) from = (size_t)(token.ptr[1] - '0');
    for (i = from; i < server.count && i < from + 2; i++) {
        uint8_t id[16];
        topic_id(id, server.name[i]);
        service_topic(&reply, 1, server.name[i], id);
    }
    snprintf(next, sizeof next, "t%d", (int)i);
    if (i < server.count) enc_text(&reply, 2, next);
    peer_send(s, &reply);
    peer_finish(s, 0, NULL, NULL);
}

static void answer_exists(stream_t *s, ensign_slice_t m)
{
    bytes_t reply = {0};
    ensign_slice_t f = { NULL, 0 };
    dec_field(m, 3, &f);
    enc_text(&reply, 1, "name");
    if (there(f)) enc_uint(&reply, 2, 1);
    peer_send(s, &reply);
    peer_finish(s, 0, NULL, NULL);
}

static void answer_retrieve(stream_t *s, ensign_slice_t m)
{
    ensign_slice_t f = { NULL, 0 };
    size_t i;
    dec_field(m, 1, &f);
    for (i = 0; i < server.count; i++) {
        uint8_t id[16];
        topic_id(id, server.name[i]);
        if (f.len == 16 && memcmp(f.ptr, id, 16) == 0) {
            answer_topic(s, server.name[i]);
            return;
        }
    }
    peer_refuse(s, ENSIGN_GRPC_NOT_FOUND, "topic not found");
}

static void serve_message(world_t *w, stream_t *s, ensign_slice_t m)
{
    const char *path = peer_field(s, ":path");
    const char *method = strrchr(path, '/') + 1;
    if (strncmp(path, "/ensign.v1beta1.Ensign/", 23) != 0) world_fail(w, "a request to %s", path);
    strncat(server.order, method, sizeof server.order - strlen(server.order) - 1);
    strncat(server.order, " ", sizeof server.order - strlen(server.order) - 1);
    if (strcmp(method, "CreateTopic") == 0) answer_create(s, m);
    else if (strcmp(method, "ListTopics") == 0) answer_page(s, m);
    else if (strcmp(method, "TopicExists") == 0) answer_exists(s, m);
    else if (strcmp(method, "RetrieveTopic") == 0) answer_retrieve(s, m);
    else world_fail(w, "a request to %s, which this server does not have", path);
}

static void serve(world_t *w, size_t topics)
{
    static const char *const names[] = { "alpha", "beta", "gamma", "delta", "weather" };
    size_t i;
    bytes_free(&server.keep);
    memset(&server, 0, sizeof server);
    for (i = 0; i < topics; i++) server.name[i] = names[i];
    server.count = topics;
    w->on_message = serve_message;
    world_create(w);
}

static const ensign_topic_t *expect_topic(world_t *w, uint32_t id, const char *name)
{
    const ensign_notice_t *n = world_expect(w, id, ENSIGN_NOTICE_TOPIC);
    uint8_t want[16];
    topic_id(want, name);
    assert_text(n->as.topic->name, name);
    assert_memory_equal(n->as.topic->id.b, want, 16);
    assert_memory_equal(n->as.topic->project_id.b, "project-id-16byt", 16);
    return n->as.topic;
}

/* ------------------------------------------------------------------ topics */
SCRIPT(create_a_topic)
{
    int mark = 0;
    ensign_request_t r;
    const ensign_notice_t *n;
    serve(w, 0);
    r = ensign_topic_create(w->client, "weather", NULL, &mark);
    assert_int_not_equal(r.id, 0);
    n = world_expect(w, r.id, ENSIGN_NOTICE_TOPIC);
    assert_ptr_equal(n->user, &mark);
    assert_true(n->last);
    assert_text(n->as.topic->name, "weather");
    assert_int_equal(n->as.topic->state, ENSIGN_TOPIC_READY);
    assert_int_equal(n->as.topic->created.seconds, 1600000000);
    assert_false(n->as.topic->readonly);
    assert_slice(server.created, "\x1a\x07weather", 9);
    r = ensign_topic_create(w->client, "weather", NULL, NULL);
    n = world_end(w, r.id, ENSIGN_GRPC_ALREADY_EXISTS);
    assert_int_equal(n->error->code, ENSIGN_E_ALREADY_EXISTS);
    assert_text(n->as.end.text, "topic name already exists in project");
}

SCRIPT(create_with_a_policy)
{
    static const char *const keys[] = { "k1", "k2" };
    ensign_dedup_t dedup;
    ensign_request_t r;
    ensign_slice_t f;
    dec_t d;
    int seen = 0;
    serve(w, 0);
    memset(&dedup, 0, sizeof dedup);
    dedup.strategy = 4;
    dedup.offset = 1;
    dedup.keys = keys;
    dedup.key_count = 2;
    dedup.overwrite_duplicate = true;
    r = ensign_topic_create(w->client, "beta", &dedup, NULL);
    expect_topic(w, r.id, "beta");
    assert_true(dec_field(server.created, 11, &f));
    assert_int_equal(dec_uint(f, 1), 4);
    assert_int_equal(dec_uint(f, 2), 1);
    assert_int_equal(dec_uint(f, 5), 1);
    for (d = dec_begin(f); dec_next(&d);) {
        if (d.tag == 3) assert_text(d.bytes, keys[seen++]);
    }
    assert_int_equal(seen, 2);
}

SCRIPT(bad_names_are_refused_here)
{
    static const char *const names[] = { "",           "42noleadnums", "-noleadhyphen",
                                         ".noleaddot", "no spaces",    "no$special",
                                         NULL };
    char longest[514];
    size_t i;
    serve(w, 0);
    for (i = 0; i < COUNT(names); i++) {
        if (ensign_topic_create(w->client, names[i], NULL, NULL).id)
            world_fail(w, "the name \"%s\" was taken", names[i]);
        assert_int_equal(ensign_error(w->client)->code, ENSIGN_E_ARGUMENT);
    }
    memset(longest, 'a', sizeof longest);
    longest[513] = 0;
    assert_int_equal(ensign_topic_create(w->client, longest, NULL, NULL).id, 0);
    longest[512] = 0;
    assert_int_not_equal(ensign_topic_create(w->client, longest, NULL, NULL).id, 0);
}

SCRIPT(ensure_finds_or_makes)
{
    ensign_request_t r;
    serve(w, 4);
    r = ensign_topic_ensure(w->client, "gamma", NULL);
    assert_true(expect_topic(w, r.id, "gamma") != NULL);
    assert_int_equal(server.count, 4);
    r = ensign_topic_ensure(w->client, "weather", NULL);
    expect_topic(w, r.id, "weather");
    assert_int_equal(server.count, 5);
    server.race = true;
    r = ensign_topic_ensure(w->client, "racing", NULL);
    expect_topic(w, r.id, "racing");
    assert_int_equal(server.count, 6);
}

SCRIPT(find_a_topic)
{
    const ensign_notice_t *n;
    ensign_request_t r;
    serve(w, 5);
    r = ensign_topic_by_name(w->client, "weather", NULL);
    expect_topic(w, r.id, "weather");
    r = ensign_topic_by_name(w->client, "alpha", NULL);
    expect_topic(w, r.id, "alpha");
    r = ensign_topic_by_name(w->client, "nowhere", NULL);
    n = world_end(w, r.id, ENSIGN_GRPC_NOT_FOUND);
    assert_int_equal(n->error->code, ENSIGN_E_NOT_FOUND);
    assert_non_null(strstr(n->error->text, "nowhere"));
}

SCRIPT(list_topics_page_by_page)
{
    ensign_request_t r;
    const ensign_notice_t *n;
    size_t i;
    serve(w, 5);
    r = ensign_topic_list(w->client, NULL);
    for (i = 0; i < 5; i++) expect_topic(w, r.id, server.name[i]);
    n = world_expect(w, r.id, ENSIGN_NOTICE_END);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_OK);
    assert_int_equal(n->as.end.count, 5);
    assert_null(n->error);
    assert_string_equal(server.order, "ListTopics ListTopics ListTopics ");
    server.count = 0;
    r = ensign_topic_list(w->client, NULL);
    n = world_expect(w, r.id, ENSIGN_NOTICE_END);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_OK);
    assert_int_equal(n->as.end.count, 0);
}

/* ------------------------------------------------------------------ status, and what goes wrong */
/* The server acts on each question, and the connection is lost before its answer to every second one. */
static void serve_and_cut(world_t *w, stream_t *s, ensign_slice_t m)
{
    serve_message(w, s, m);
    if (server.asked++ % 2 == 0) world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
}

SCRIPT(a_list_whose_pages_are_cut_off)
{
    static const char *const names[] = { "alpha", "beta", "gamma", "delta", "weather" };
    uint32_t id;
    serve(w, COUNT(names));
    w->on_message = serve_and_cut;
    id = ensign_topic_list(w->client, NULL).id;
    for (size_t i = 0; i < COUNT(names); i++) expect_topic(w, id, names[i]);
    assert_int_equal(world_end(w, id, ENSIGN_GRPC_OK)->as.end.count, COUNT(names));
    assert_int_equal(server.asked, 6);
}

/* It was made by the first CreateTopic, whose answer was lost: there is one, and ensure finds it. */
SCRIPT(ensure_whose_answers_are_cut_off)
{
    uint32_t id;
    serve(w, 1);
    w->on_message = serve_and_cut;
    id = ensign_topic_ensure(w->client, "fresh", NULL).id;
    assert_true(expect_topic(w, id, "fresh") != NULL);
    assert_string_equal(server.order, "ListTopics ListTopics CreateTopic CreateTopic ListTopics ListTopics ");
    assert_int_equal(server.count, 2);
}

SCRIPT(status_of_the_service)
{
    bytes_t reply = {0}, uptime = {0};
    const ensign_notice_t *n;
    ensign_request_t r;
    stream_t *s;
    world_create_with_key(w);
    w->auth_manual = true;
    r = ensign_status(w->client, NULL);
    s = world_stream(w, 0);
    assert_string_equal(peer_field(s, ":path"), "/ensign.v1beta1.Ensign/Status");
    assert_int_equal(world_request(w, s).len, 0);
    enc_uint(&reply, 1, 1);
    enc_text(&reply, 2, "0.12.9-beta.24");
    enc_uint(&uptime, 1, 90);
    enc_uint(&uptime, 2, 5000000);
    enc_message(&reply, 3, &uptime);
    peer_send(s, &reply);
    peer_finish(s, 0, NULL, NULL);
    n = world_expect(w, r.id, ENSIGN_NOTICE_STATUS);
    assert_true(n->last);
    assert_int_equal(n->as.status.state, ENSIGN_SERVICE_HEALTHY);
    assert_text(n->as.status.version, "0.12.9-beta.24");
    assert_int_equal(n->as.status.uptime_ms, 90005);
}

SCRIPT(a_request_has_one_answer_or_an_error)
{
    ensign_request_t r;
    stream_t *s;
    uint64_t began;
    world_create(w);
    r = ensign_topic_create(w->client, "weather", NULL, NULL);
    s = world_stream(w, 0);
    peer_message(s, "", 0);             /* what the server sends when a handler panics */
    peer_finish(s, 0, NULL, NULL);
    assert_int_not_equal(world_expect(w, r.id, ENSIGN_NOTICE_END)->as.end.status, ENSIGN_GRPC_OK);
    r = ensign_topic_create(w->client, "weather", NULL, NULL);
    s = world_stream(w, 1);
    peer_message(s, "\xff\xff", 2);
    peer_finish(s, 0, NULL, NULL);
    assert_int_not_equal(world_expect(w, r.id, ENSIGN_NOTICE_END)->as.end.status, ENSIGN_GRPC_OK);
    r = ensign_status(w->client, NULL);
    s = world_stream(w, 2);
    peer_finish(s, 0, NULL, NULL);
    assert_int_not_equal(world_expect(w, r.id, ENSIGN_NOTICE_END)->as.end.status, ENSIGN_GRPC_OK);
    r = ensign_topic_list(w->client, NULL);
    began = w->now;
    world_end(w, r.id, ENSIGN_GRPC_DEADLINE_EXCEEDED);
    assert_in_range(w->now - began, 30000, 30010);
}

SCRIPT(closing_ends_a_request)
{
    ensign_request_t r;
    world_create(w);
    r = ensign_topic_list(w->client, NULL);
    world_stream(w, 0);
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 300), ENSIGN_OK);
    assert_int_not_equal(world_expect(w, r.id, ENSIGN_NOTICE_END)->as.end.status, ENSIGN_GRPC_OK);
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(create_a_topic),
        IN_MODES(create_with_a_policy),
        IN_MODES(bad_names_are_refused_here),
        IN_MODES(ensure_finds_or_makes),
        IN_MODES(find_a_topic),
        IN_MODES(list_topics_page_by_page),
        IN_MODES(a_list_whose_pages_are_cut_off), IN_MODES(ensure_whose_answers_are_cut_off),
        IN_MODES(status_of_the_service),
        IN_MODES(a_request_has_one_answer_or_an_error),
        IN_MODES(closing_ends_a_request),
    };
    int rc = cmocka_run_group_tests_name("topic_requests", tests, NULL, NULL);
    bytes_free(&server.keep);
    return rc;
}
