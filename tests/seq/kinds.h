/* kinds.h - every request that has one question: how it is opened, what the server is asked, what a good
 * answer is, and how it reads. A test that goes over `kinds` holds for all of them. */
#ifndef KINDS_H
#define KINDS_H

#include "service.h"

static const uint8_t project_id[16] = "project-id-16byt";
static const char weather_ulid[] = "3QCNGQ8T35E8PPJS1D64V64YBM";
static const char project_ulid[] = "3GE9QPMSB3EGPPJS1D64V64YBM";
static const char weather_hash[] = "sUH23DHfXIIB9gKPv8zw-Q"; /* MurmurHash3 x64-128 of "weather", base64url */

typedef struct kind_t {
    const char *name, *method;
    ensign_request_t (*open)(world_t *w, void *user);
    void (*asked)(bytes_t *want);                   /* the request; NULL: its form is the client's matter */
    void (*answer)(bytes_t *m);
    ensign_notice_type_t notice;                    /* the first one */
    void (*check)(const ensign_notice_t *n);        /* may be called again while the notice stands */
    void (*rest)(world_t *w, uint32_t id);          /* what comes before END; NULL: the first is the last */
    bool no_token;
    bool empty;                                     /* a message of no bytes is an answer */
    bool opaque;                                    /* any bytes are an answer */
} kind_t;

/* A second time would change something again. */
static UNUSED bool kind_changes(const kind_t *k)
{
    static const char *const names[] = { "create", "archive", "destroy", "set_dedup", "set_sharding" };
    for (size_t i = 0; i < COUNT(names); i++)
        if (strcmp(k->name, names[i]) == 0) return true;
    return false;
}

static UNUSED ensign_ulid_t ulid_of(const uint8_t b[16])
{
    ensign_ulid_t id;
    memcpy(id.b, b, 16);
    return id;
}

/* ------------------------------------------------------------------ topics */
static UNUSED void record_topic(bytes_t *m)
{
    bytes_t dedup = {0}, type = {0};
    enc_bytes(m, 1, weather_id, 16);
    enc_bytes(m, 2, project_id, 16);
    enc_text(m, 3, "weather");
    enc_uint(m, 4, 1);
    enc_uint(m, 5, 70);
    enc_uint(m, 6, 3);
    enc_uint(m, 7, 2);
    enc_uint(&dedup, 1, 4);
    enc_uint(&dedup, 2, 2);
    enc_text(&dedup, 3, "k1");
    enc_text(&dedup, 3, "k2");
    enc_text(&dedup, 4, "f1");
    enc_uint(&dedup, 5, 1);
    enc_message(m, 11, &dedup);
    enc_text(m, 12, "\x08\x05");
    enc_text(&type, 1, "Report");
    enc_uint(&type, 2, 1);
    enc_uint(&type, 4, 9);
    enc_message(m, 13, &type);
    enc_time(m, 14, 1600000000, 5);
    enc_time(m, 15, 1600000060, 0);
}

static UNUSED void read_topic_lists(const ensign_topic_t *t)
{
    ensign_slice_t s;
    ensign_type_t type;
    size_t at = 0;
    assert_true(ensign_topic_key_next(t, &at, &s));
    assert_text(s, "k1");
    assert_true(ensign_topic_key_next(t, &at, &s));
    assert_text(s, "k2");
    assert_false(ensign_topic_key_next(t, &at, &s));
    at = 0;
    assert_true(ensign_topic_field_next(t, &at, &s));
    assert_text(s, "f1");
    assert_false(ensign_topic_field_next(t, &at, &s));
    at = 0;
    assert_true(ensign_topic_type_next(t, &at, &type));
    assert_text(type.name, "Report");
    assert_int_equal(type.major, 1);
    assert_int_equal(type.minor, 0);
    assert_int_equal(type.patch, 9);
    assert_false(ensign_topic_type_next(t, &at, &type));
}

static UNUSED void read_topic(const ensign_notice_t *n)
{
    const ensign_topic_t *t = n->as.topic;
    assert_memory_equal(t->id.b, weather_id, 16);
    assert_memory_equal(t->project_id.b, project_id, 16);
    assert_text(t->name, "weather");
    assert_true(t->readonly);
    assert_int_equal(t->state, ENSIGN_TOPIC_READONLY);
    assert_int_equal(t->dedup_strategy, ENSIGN_DEDUP_KEY_GROUPED);
    assert_int_equal(t->dedup_offset, ENSIGN_DEDUP_OFFSET_LATEST);
    assert_true(t->overwrite_duplicate);
    assert_int_equal(t->offset, 70);
    assert_int_equal(t->shards, 3);
    assert_int_equal(t->created.seconds, 1600000000);
    assert_int_equal(t->created.nanos, 5);
    assert_int_equal(t->modified.seconds, 1600000060);
    assert_true(t->placements.len > 0);
    read_topic_lists(t);
}

static UNUSED void page_of_topics(bytes_t *m)
{
    bytes_t topic = {0};
    record_topic(&topic);
    enc_message(m, 1, &topic);
}

static UNUSED void nothing_more(world_t *w, uint32_t id)
{
    (void)w;
    (void)id;
}

static ensign_request_t open_create(world_t *w, void *user)
{
    static const char *const keys[] = { "k1", "k2" }, *const fields[] = { "f1" };
    ensign_dedup_t d;
    memset(&d, 0, sizeof d);
    d.strategy = ENSIGN_DEDUP_KEY_GROUPED;
    d.offset = ENSIGN_DEDUP_OFFSET_LATEST;
    d.keys = keys;
    d.key_count = 2;
    d.fields = fields;
    d.field_count = 1;
    d.overwrite_duplicate = true;
    return ensign_topic_create(w->client, "weather", &d, user);
}

static void policy(bytes_t *m)
{
    enc_uint(m, 1, 4);
    enc_uint(m, 2, 2);
    enc_text(m, 3, "k1");
    enc_text(m, 3, "k2");
    enc_text(m, 4, "f1");
    enc_uint(m, 5, 1);
}

static void asked_create(bytes_t *want)
{
    bytes_t d = {0};
    policy(&d);
    enc_text(want, 3, "weather");
    enc_message(want, 11, &d);
}

static ensign_request_t open_ensure(world_t *w, void *user)
{
    return ensign_topic_ensure(w->client, "weather", user);
}

static ensign_request_t open_find(world_t *w, void *user)
{
    return ensign_topic_by_name(w->client, "weather", user);
}

static ensign_request_t open_retrieve(world_t *w, void *user)
{
    return ensign_topic_by_id(w->client, ulid_of(weather_id), user);
}

static void asked_retrieve(bytes_t *want)
{
    enc_bytes(want, 1, weather_id, 16);
}

static ensign_request_t open_list(world_t *w, void *user)
{
    return ensign_topic_list(w->client, user);
}

static ensign_request_t open_names(world_t *w, void *user)
{
    return ensign_topic_names(w->client, user);
}

static UNUSED void name_entry(bytes_t *page, const char *id, const char *hash)
{
    bytes_t t = {0};
    enc_text(&t, 1, id);
    enc_text(&t, 2, project_ulid);
    enc_text(&t, 3, hash);
    enc_message(page, 1, &t);
}

static void answer_names(bytes_t *m)
{
    name_entry(m, weather_ulid, weather_hash);
}

static void read_name(const ensign_notice_t *n)
{
    assert_memory_equal(n->as.topic->id.b, weather_id, 16);
    assert_memory_equal(n->as.topic->project_id.b, project_id, 16);
}

static ensign_request_t open_exists(world_t *w, void *user)
{
    return ensign_topic_exists(w->client, "weather", NULL, user);
}

static void asked_exists(bytes_t *want)
{
    enc_text(want, 3, "weather");
}

static void answer_exists(bytes_t *m)
{
    enc_text(m, 1, "name=weather");
    enc_uint(m, 2, 1);
}

static void read_exists(const ensign_notice_t *n)
{
    assert_true(n->as.exists.exists);
}

/* ------------------------------------------------------------------ what a topic becomes */
static void topic_status(bytes_t *m, unsigned state)
{
    enc_text(m, 1, weather_ulid);
    enc_uint(m, 2, state);
}

static void read_state(const ensign_notice_t *n, int state)
{
    assert_memory_equal(n->as.topic_state.id.b, weather_id, 16);
    assert_int_equal(n->as.topic_state.state, state);
}

static ensign_request_t open_archive(world_t *w, void *user)
{
    return ensign_topic_archive(w->client, ulid_of(weather_id), user);
}

static void asked_archive(bytes_t *want)
{
    enc_text(want, 1, weather_ulid);
    enc_uint(want, 2, 1);
}

static void answer_archive(bytes_t *m)
{
    topic_status(m, 2);
}

static void read_archive(const ensign_notice_t *n)
{
    read_state(n, ENSIGN_TOPIC_READONLY);
}

static ensign_request_t open_destroy(world_t *w, void *user)
{
    return ensign_topic_destroy(w->client, ulid_of(weather_id), user);
}

static void asked_destroy(bytes_t *want)
{
    enc_text(want, 1, weather_ulid);
    enc_uint(want, 2, 2);
}

static void answer_destroy(bytes_t *m)
{
    topic_status(m, 3);
}

static void read_destroy(const ensign_notice_t *n)
{
    read_state(n, ENSIGN_TOPIC_DELETING);
}

static ensign_request_t open_dedup(world_t *w, void *user)
{
    static const char *const keys[] = { "k1", "k2" }, *const fields[] = { "f1" };
    ensign_dedup_t d = { ENSIGN_DEDUP_KEY_GROUPED, ENSIGN_DEDUP_OFFSET_LATEST, keys, 2, fields, 1, true };
    return ensign_topic_set_dedup(w->client, ulid_of(weather_id), &d, user);
}

static void asked_dedup(bytes_t *want)
{
    bytes_t d = {0};
    policy(&d);
    enc_text(want, 1, weather_ulid);
    enc_message(want, 2, &d);
}

static void answer_dedup(bytes_t *m)
{
    topic_status(m, 4);
}

static void read_dedup(const ensign_notice_t *n)
{
    read_state(n, ENSIGN_TOPIC_PENDING);
}

static ensign_request_t open_sharding(world_t *w, void *user)
{
    return ensign_topic_set_sharding(w->client, ulid_of(weather_id), ENSIGN_SHARDING_RANDOM, user);
}

static void asked_sharding(bytes_t *want)
{
    enc_text(want, 1, weather_ulid);
    enc_text(want, 2, "");          /* the server needs it there */
    enc_uint(want, 3, 3);
}

static void answer_sharding(bytes_t *m)
{
    topic_status(m, 1);
}

static void read_sharding(const ensign_notice_t *n)
{
    read_state(n, ENSIGN_TOPIC_READY);
}

/* ------------------------------------------------------------------ the project's numbers */
static ensign_request_t open_info(world_t *w, void *user)
{
    ensign_ulid_t ids[2];
    ids[0] = ulid_of(weather_id);
    ids[1] = ulid_of(traffic_id);
    return ensign_info(w->client, ids, 2, user);
}

static void asked_info(bytes_t *want)
{
    enc_bytes(want, 1, weather_id, 16);
    enc_bytes(want, 1, traffic_id, 16);
}

static UNUSED void info_project(bytes_t *m, unsigned topics)
{
    enc_bytes(m, 1, project_id, 16);
    enc_uint(m, 2, topics);
    enc_uint(m, 3, 1);
    enc_uint(m, 7, 100);
    enc_uint(m, 8, 20);
    enc_uint(m, 9, 5000000000);
}

static UNUSED void info_type(bytes_t *topic, const char *name, unsigned mime, unsigned events)
{
    bytes_t t = {0}, type = {0};
    enc_text(&type, 1, name);
    enc_uint(&type, 2, 1);
    enc_uint(&type, 3, 2);
    enc_uint(&type, 4, 3);
    enc_message(&t, 1, &type);
    if (mime) enc_uint(&t, 2, mime);
    enc_uint(&t, 10, events);
    enc_uint(&t, 11, 4);
    enc_uint(&t, 12, 400);
    enc_message(topic, 14, &t);
}

/* A TopicInfo as far as its types. */
static UNUSED void info_topic(bytes_t *t, const uint8_t *id, unsigned events)
{
    enc_bytes(t, 1, id, 16);
    enc_bytes(t, 2, project_id, 16);
    enc_bytes(t, 3, "\1\2\3\4\5\6\7\x08\x09\x0a", 10);
    enc_uint(t, 7, events);
    enc_uint(t, 8, 20);
    enc_uint(t, 9, 5000);
    enc_time(t, 15, 1600000000, 9);
}

static void answer_info(bytes_t *m)
{
    bytes_t t = {0};
    info_project(m, 1);
    info_topic(&t, weather_id, 100);
    info_type(&t, "Report", 50, 100);
    enc_message(m, 15, &t);
}

static void read_project(const ensign_notice_t *n)
{
    const ensign_project_t *p = n->as.project;
    assert_memory_equal(p->id.b, project_id, 16);
    assert_int_equal(p->topics, 1);
    assert_int_equal(p->readonly_topics, 1);
    assert_int_equal(p->events, 100);
    assert_int_equal(p->duplicates, 20);
    assert_true(p->data_bytes == 5000000000);
}

static void read_topic_info(const ensign_topic_info_t *t, const uint8_t *id, unsigned events)
{
    assert_memory_equal(t->id.b, id, 16);
    assert_memory_equal(t->project_id.b, project_id, 16);
    assert_memory_equal(t->last_event.b, "\1\2\3\4\5\6\7\x08\x09\x0a", 10);
    assert_int_equal(t->events, events);
    assert_int_equal(t->duplicates, 20);
    assert_int_equal(t->data_bytes, 5000);
    assert_int_equal(t->modified.seconds, 1600000000);
    assert_int_equal(t->modified.nanos, 9);
}

static void read_type_info(const ensign_type_info_t *t, const char *name, int mime, unsigned events)
{
    assert_text(t->type.name, name);
    assert_int_equal(t->type.major, 1);
    assert_int_equal(t->type.minor, 2);
    assert_int_equal(t->type.patch, 3);
    assert_int_equal(t->mimetype, mime);
    assert_int_equal(t->events, events);
    assert_int_equal(t->duplicates, 4);
    assert_int_equal(t->data_bytes, 400);
    assert_int_equal(t->modified.seconds, 0);
}

static void rest_of_info(world_t *w, uint32_t id)
{
    read_topic_info(world_expect(w, id, ENSIGN_NOTICE_TOPIC_INFO)->as.topic_info, weather_id, 100);
    read_type_info(world_expect(w, id, ENSIGN_NOTICE_TYPE_INFO)->as.type_info, "Report", 50, 100);
}

/* ------------------------------------------------------------------ explain, status, health */
static ensign_request_t open_explain(world_t *w, void *user)
{
    static const ensign_param_t param = { "a", ENSIGN_PARAM_INT, { -1 } };
    ensign_query_desc_t d;
    memset(&d, 0, sizeof d);
    d.sql = "SELECT * FROM weather";
    d.params = &param;
    d.param_count = 1;
    d.include_duplicates = true;
    d.user = user;
    return ensign_explain(w->client, &d);
}

static void asked_explain(bytes_t *want)
{
    bytes_t p = {0};
    enc_uint(&p, 1, 1);             /* zigzag of -1 */
    enc_text(&p, 6, "a");
    enc_text(want, 1, "SELECT * FROM weather");
    enc_message(want, 2, &p);
    enc_uint(want, 3, 1);
}

static void answer_explain(bytes_t *m)
{
    enc_text(m, 1, "scan of weather");
}

static void read_plan(const ensign_notice_t *n)
{
    assert_slice(n->as.plan.bytes, "\x0a\x0fscan of weather", 17);
}

static ensign_request_t open_status(world_t *w, void *user)
{
    return ensign_status(w->client, user);
}

static void asked_nothing(bytes_t *want)
{
    (void)want;
}

static void answer_status(bytes_t *m)
{
    bytes_t uptime = {0};
    enc_uint(m, 1, 5);
    enc_text(m, 2, "0.12.9-beta.24");
    enc_uint(&uptime, 1, 90);
    enc_uint(&uptime, 2, 5000000);
    enc_message(m, 3, &uptime);
    enc_time(m, 4, 1600000060, 1);
    enc_time(m, 5, 1600003600, 0);
}

static void read_status(const ensign_notice_t *n)
{
    assert_int_equal(n->as.status.state, ENSIGN_SERVICE_MAINTENANCE);
    assert_text(n->as.status.version, "0.12.9-beta.24");
    assert_int_equal(n->as.status.uptime_ms, 90005);
    assert_int_equal(n->as.status.not_before.seconds, 1600000060);
    assert_int_equal(n->as.status.not_before.nanos, 1);
    assert_int_equal(n->as.status.not_after.seconds, 1600003600);
    assert_int_equal(n->as.status.not_after.nanos, 0);
}

static ensign_request_t open_health(world_t *w, void *user)
{
    return ensign_health(w->client, "default", false, user);
}

static void asked_health(bytes_t *want)
{
    enc_text(want, 1, "default");
}

static void answer_health(bytes_t *m)
{
    enc_uint(m, 1, 2);
}

static void read_health(const ensign_notice_t *n)
{
    assert_int_equal(n->as.health.state, ENSIGN_HEALTH_NOT_SERVING);
}

/* ------------------------------------------------------------------ the list */
#define ENSIGN_METHOD(name) "/ensign.v1beta1.Ensign/" name

static UNUSED const kind_t kinds[] = {
    { "create", ENSIGN_METHOD("CreateTopic"), open_create, asked_create, record_topic, ENSIGN_NOTICE_TOPIC,
      read_topic, NULL, false, false, false },
    { "ensure", ENSIGN_METHOD("ListTopics"), open_ensure, NULL, page_of_topics, ENSIGN_NOTICE_TOPIC,
      read_topic, NULL, false, true, false },
    { "find", ENSIGN_METHOD("ListTopics"), open_find, NULL, page_of_topics, ENSIGN_NOTICE_TOPIC, read_topic,
      NULL, false, true, false },
    { "list", ENSIGN_METHOD("ListTopics"), open_list, NULL, page_of_topics, ENSIGN_NOTICE_TOPIC, read_topic,
      nothing_more, false, true, false },
    { "names", ENSIGN_METHOD("TopicNames"), open_names, NULL, answer_names, ENSIGN_NOTICE_TOPIC, read_name,
      nothing_more, false, true, false },
    { "exists", ENSIGN_METHOD("TopicExists"), open_exists, asked_exists, answer_exists, ENSIGN_NOTICE_EXISTS,
      read_exists, NULL, false, true, false },
    { "retrieve", ENSIGN_METHOD("RetrieveTopic"), open_retrieve, asked_retrieve, record_topic,
      ENSIGN_NOTICE_TOPIC, read_topic, NULL, false, false, false },
    { "archive", ENSIGN_METHOD("DeleteTopic"), open_archive, asked_archive, answer_archive,
      ENSIGN_NOTICE_TOPIC_STATE, read_archive, NULL, false, false, false },
    { "destroy", ENSIGN_METHOD("DeleteTopic"), open_destroy, asked_destroy, answer_destroy,
      ENSIGN_NOTICE_TOPIC_STATE, read_destroy, NULL, false, false, false },
    { "set_dedup", ENSIGN_METHOD("SetTopicPolicy"), open_dedup, asked_dedup, answer_dedup,
      ENSIGN_NOTICE_TOPIC_STATE, read_dedup, NULL, false, false, false },
    { "set_sharding", ENSIGN_METHOD("SetTopicPolicy"), open_sharding, asked_sharding, answer_sharding,
      ENSIGN_NOTICE_TOPIC_STATE, read_sharding, NULL, false, false, false },
    { "info", ENSIGN_METHOD("Info"), open_info, asked_info, answer_info, ENSIGN_NOTICE_PROJECT, read_project,
      rest_of_info, false, true, false },
    { "explain", ENSIGN_METHOD("Explain"), open_explain, asked_explain, answer_explain, ENSIGN_NOTICE_PLAN,
      read_plan, NULL, false, true, true },
    { "status", ENSIGN_METHOD("Status"), open_status, asked_nothing, answer_status, ENSIGN_NOTICE_STATUS,
      read_status, NULL, true, true, false },
    { "health", "/grpc.health.v1.Health/Check", open_health, asked_health, answer_health,
      ENSIGN_NOTICE_HEALTH, read_health, NULL, true, true, false },
};

/* ------------------------------------------------------------------ one request of a kind */
static UNUSED uint32_t kind_open(world_t *w, const kind_t *k, void *user)
{
    ensign_request_t r = k->open(w, user);
    if (!r.id) world_fail(w, "%s was refused", k->name);
    return r.id;
}

/* The stream that a request opens next, behind `before` others, with its request read. */
static UNUSED stream_t *kind_asked(world_t *w, const kind_t *k, size_t before)
{
    stream_t *s = world_stream(w, before);
    ensign_slice_t m = world_request(w, s);
    bytes_t want = {0};
    assert_string_equal(peer_field(s, ":path"), k->method);
    if (k->asked) {
        k->asked(&want);
        assert_slice(m, want.p, want.len);
    }
    bytes_free(&want);
    world_until(w, s->half_closed);
    return s;
}

static UNUSED void kind_answer(const kind_t *k, stream_t *s)
{
    bytes_t m = {0};
    k->answer(&m);
    peer_send(s, &m);
    peer_finish(s, 0, NULL, NULL);
}

/* The answer, as far as its last notice. */
static UNUSED void kind_good(world_t *w, const kind_t *k, uint32_t id, void *user)
{
    const ensign_notice_t *n = world_expect(w, id, k->notice);
    assert_ptr_equal(n->user, user);
    assert_null(n->error);
    assert_int_equal(n->last, k->rest == NULL);
    k->check(n);
    if (!k->rest) return;
    k->rest(w, id);
    n = world_end(w, id, ENSIGN_GRPC_OK);
    assert_ptr_equal(n->user, user);
    assert_null(n->error);
    assert_int_equal(n->as.end.count, 1);
}

/* END with an error, and nothing before it. */
static UNUSED const ensign_notice_t *kind_failed(world_t *w, uint32_t id, int code)
{
    const ensign_notice_t *n = world_expect(w, id, ENSIGN_NOTICE_END);
    assert_true(n->last);
    assert_non_null(n->error);
    if (n->error->code != code)
        world_fail(w, "END with %s instead of %s: %s", ensign_result_name(n->error->code),
                   ensign_result_name(code), n->error->text);
    assert_true(n->error->text[0] != 0);
    assert_int_equal(n->as.end.count, 0);
    return n;
}

/* A world of its own for each kind. */
static UNUSED void each_kind(world_t *w, void (*f)(world_t *, const kind_t *))
{
    static char script[100];
    const char *name = w->script;
    chunk_t mode = w->mode;
    size_t i;
    for (i = 0; i < COUNT(kinds); i++) {
        if (i > 0) {
            world_close(w);
            world_begin(w, mode, world_base_seed());
        }
        snprintf(script, sizeof script, "%s, %s", name, kinds[i].name);
        w->script = script;
        f(w, &kinds[i]);
    }
}

/* A script that is run for each kind. */
#define SCRIPT_OF_KINDS(f) \
    static void f##_of(world_t *w, const kind_t *k); \
    SCRIPT(f) { each_kind(w, f##_of); } \
    static void f##_of(world_t *w, const kind_t *k)

#endif
