/* service.c - all that a program can ask of the service, in one session
 *
 *   service NAME        NAME begins each topic that is made; what is made is destroyed at the end
 *
 * The server is told by the ENSIGN_ variables: the real one (make test-live), or ensignd. Where the real one lacks
 * something both answers are right. Prints TAP; exit status 1: a check failed.
 */
#define ENSIGN_IMPLEMENTATION
#include "ensign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_MS = 30000, EVENTS = 5, MANY = 2000, TOPICS = 5 };

static ensign_t *c;
static int checks, failures;
static char names[TOPICS][80];
static ensign_ulid_t ids[TOPICS];

static bool ok(bool good, const char *name)
{
    printf("%s %d - %s\n", good ? "ok" : "not ok", ++checks, name);
    if (!good) {
        failures++;
        printf("# the client's last error: %s\n", ensign_error(c)->text);
    }
    return good;
}

/* The next notice of a handle; NULL: none came in time. */
static const ensign_notice_t *await(uint32_t handle)
{
    const ensign_notice_t *n = NULL;
    int rc = ensign_await(c, handle, WAIT_MS, &n);
    if (rc != ENSIGN_OK) printf("# %s: %s\n", ensign_result_name(rc), ensign_error(c)->text);
    return n;
}

static bool is(ensign_slice_t s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.ptr, text, s.len) == 0;
}

static bool same(ensign_ulid_t a, ensign_ulid_t b)
{
    return memcmp(a.b, b.b, sizeof a.b) == 0;
}

/* The one answer of a request, of this type; anything else is shown. */
static const ensign_notice_t *answer(ensign_request_t q, ensign_notice_type_t type)
{
    const ensign_notice_t *n = q.id ? await(q.id) : NULL;
    if (n && n->type == type) return n;
    printf("# notice %d: %s\n", n ? (int)n->type : 0, n && n->error ? n->error->text : "no error");
    return NULL;
}

/* A request that must end with this error. */
static bool refused(ensign_request_t q, int code, const char *text)
{
    const ensign_notice_t *n = answer(q, ENSIGN_NOTICE_END);
    if (!n || !n->error || n->error->code != code) {
        printf("# it ended with %s, not %s\n", n && n->error ? ensign_result_name(n->error->code) : "none",
               ensign_result_name(code));
        return false;
    }
    if (!strstr(n->error->text, text)) printf("# %s: it does not say \"%s\"\n", n->error->text, text);
    return strstr(n->error->text, text) != NULL;
}

static bool topic_is(ensign_request_t q, int i)
{
    const ensign_notice_t *n = answer(q, ENSIGN_NOTICE_TOPIC);
    return n && same(n->as.topic->id, ids[i]) && is(n->as.topic->name, names[i]);
}

static bool exists(const char *name, const ensign_ulid_t *id, bool wanted)
{
    const ensign_notice_t *n = answer(ensign_topic_exists(c, name, id, NULL), ENSIGN_NOTICE_EXISTS);
    return n && n->as.exists.exists == wanted;
}

/* ---------------------------------------------------------------- how the server is */

static void server(void)
{
    const ensign_notice_t *n = answer(ensign_status(c, NULL), ENSIGN_NOTICE_STATUS);
    ensign_request_t watch;
    if (ok(n && n->as.status.state == ENSIGN_SERVICE_HEALTHY && n->as.status.version.len > 0, "status: HEALTHY"))
        printf("# version %.*s\n", (int)n->as.status.version.len, (const char *)n->as.status.version.ptr);
    if (getenv("ENSIGN_AUTH_URL")) {
        n = answer(ensign_auth_status(c, NULL), ENSIGN_NOTICE_STATUS);
        ok(n && n->as.status.state == ENSIGN_SERVICE_HEALTHY, "auth service: HEALTHY");
    }
    n = answer(ensign_health(c, NULL, false, NULL), ENSIGN_NOTICE_HEALTH);
    ok(n && n->last && n->as.health.state == ENSIGN_HEALTH_SERVING, "health check: SERVING");
    watch = ensign_health(c, "default", true, NULL);
    n = answer(watch, ENSIGN_NOTICE_HEALTH);
    ok(n && !n->last && n->as.health.state == ENSIGN_HEALTH_SERVING, "health watch: SERVING");
    ensign_forget(c, watch.id);
    watch = ensign_health(c, "nobody", true, NULL);
    n = answer(watch, ENSIGN_NOTICE_HEALTH);
    ok(n && !n->last && n->as.health.state == ENSIGN_HEALTH_SERVICE_UNKNOWN, "health watch: SERVICE_UNKNOWN");
    ensign_forget(c, watch.id);
}

/* ---------------------------------------------------------------- topics */

static bool listed(ensign_request_t q, int i)
{
    const ensign_notice_t *n;
    bool found = false;
    while ((n = await(q.id)) != NULL && n->type == ENSIGN_NOTICE_TOPIC)
        found |= same(n->as.topic->id, ids[i]) && is(n->as.topic->name, names[i]);
    return found && n && n->type == ENSIGN_NOTICE_END && !n->error && n->as.end.count > 0;
}

static void create(void)
{
    const char *const keys[] = { "source", "batch" };
    ensign_dedup_t policy = { 0 };
    const ensign_notice_t *n;
    ensign_slice_t key = { 0 };
    size_t at = 0;

    policy.strategy = ENSIGN_DEDUP_UNIQUE_KEY;
    policy.offset = ENSIGN_DEDUP_OFFSET_EARLIEST;
    policy.keys = keys;
    policy.key_count = 2;
    ok(exists(names[0], NULL, false), "exists: not yet");
    ok(refused(ensign_topic_by_name(c, names[0], NULL), ENSIGN_E_NOT_FOUND, names[0]), "find: NOT_FOUND");
    n = answer(ensign_topic_create(c, names[0], NULL, NULL), ENSIGN_NOTICE_TOPIC);
    if (n) ids[0] = n->as.topic->id;
    ok(n && n->last && n->as.topic->state == ENSIGN_TOPIC_READY && n->as.topic->created.seconds > 0 &&
           n->as.topic->dedup_strategy == ENSIGN_DEDUP_NONE, "create: READY, no deduplication");
    n = answer(ensign_topic_create(c, names[1], &policy, NULL), ENSIGN_NOTICE_TOPIC);
    if (n) ids[1] = n->as.topic->id;
    ok(n && n->as.topic->dedup_strategy == ENSIGN_DEDUP_UNIQUE_KEY &&
           n->as.topic->dedup_offset == ENSIGN_DEDUP_OFFSET_EARLIEST &&
           ensign_topic_key_next(n->as.topic, &at, &key) && (is(key, "batch") || is(key, "source")),
       "create with a deduplication policy and keys");
    ok(refused(ensign_topic_create(c, names[0], NULL, NULL), ENSIGN_E_ALREADY_EXISTS, "already exists"),
       "create again: ALREADY_EXISTS");
    ok(topic_is(ensign_topic_ensure(c, names[0], NULL), 0), "ensure: the one that is there");
    ok(topic_is(ensign_topic_by_name(c, names[1], NULL), 1), "find by name");
    ok(topic_is(ensign_topic_by_id(c, ids[0], NULL), 0), "retrieve by id");
    ok(exists(names[0], NULL, true) && exists(NULL, &ids[1], true) && exists(names[0], &ids[0], true),
       "exists: by name, by id, by both");
    ok(listed(ensign_topic_list(c, NULL), 1), "list");
    ok(listed(ensign_topic_names(c, NULL), 0), "names: the cache knows the name, the hash agrees");
    memset(ids[2].b, 7, sizeof ids[2].b);
    ok(refused(ensign_topic_by_id(c, ids[2], NULL), ENSIGN_E_NOT_FOUND, "topic not found"),
       "retrieve: NOT_FOUND");
}

/* ---------------------------------------------------------------- publish */

static ensign_publisher_t pub;
static ensign_subscription_t sub;

/* An event with all that an event can carry. */
static int publish(const char *topic, uint64_t tag)
{
    static const ensign_pair_t pairs[] = { { "source", "test" }, { "batch", "7" } };
    static char data[40];
    ensign_event_t e = { 0 };
    snprintf(data, sizeof data, "{\"n\": %lu}", (unsigned long)tag);
    e.data = ensign_str(data);
    e.mimetype = ENSIGN_MIME_APPLICATION_JSON;
    ensign_type_parse("Number", "1.2.3", &e.type);
    e.key = ensign_str("k");
    e.topic = topic;
    e.pairs = pairs;
    e.pair_count = 2;
    e.tag = tag;
    return ensign_publish(c, pub, &e);
}

/* The next answer of the publisher: 0 an ACK of this tag, else the NACK's code, or -1. */
static int answered(uint64_t tag)
{
    const ensign_notice_t *n;
    while ((n = await(pub.id)) != NULL) {
        if (n->type == ENSIGN_NOTICE_ACK) return n->as.ack.tag == tag && n->as.ack.committed.seconds ? 0 : -1;
        if (n->type == ENSIGN_NOTICE_NACK) {
            printf("# %s\n", n->error->text);
            return n->as.nack.tag == tag ? n->as.nack.code : -1;
        }
        if (n->type == ENSIGN_NOTICE_END) {
            printf("# END: %s\n", n->error ? n->error->text : "no error");
            return -1;
        }
    }
    return -1;
}

static void publishing(void)
{
    ensign_publisher_desc_t d = { 0 };
    const ensign_notice_t *n;
    char text[27], nowhere[100];
    bool good = true;

    d.topic = names[0];
    pub = ensign_publisher_open(c, &d);
    for (uint64_t i = 0; i < EVENTS; i++) good &= publish(NULL, i) == ENSIGN_OK;
    for (uint64_t i = 0; i < EVENTS; i++) good &= answered(i) == 0;
    ok(good, "publish: every event has its ACK");
    ensign_ulid_text(ids[1], text);
    ok(publish(text, 20) == ENSIGN_OK && answered(20) == 0, "publish by an id's text");
    snprintf(nowhere, sizeof nowhere, "%s-nowhere", names[0]);
    ok(publish(nowhere, 21) == ENSIGN_OK && answered(21) == ENSIGN_NACK_TOPIC_UNKNOWN,
       "publish to no topic: TOPIC_UNKNOWN");
    n = answer(ensign_topic_create(c, names[2], NULL, NULL), ENSIGN_NOTICE_TOPIC);
    if (n) ids[2] = n->as.topic->id;
    ok(publish(NULL, 22) == ENSIGN_OK && publish(names[2], 23) == ENSIGN_OK && answered(22) == 0 &&
           answered(23) == 0, "publish to a topic made after the stream opened");
    ok(publish(names[0], 24) == ENSIGN_OK && answered(24) == 0, "and to the first one again");
    ok(ensign_close(c, pub.id, WAIT_MS) == ENSIGN_OK, "close");
    while ((n = await(pub.id)) != NULL && n->type != ENSIGN_NOTICE_END) continue;
    ok(n && !n->error && n->as.end.count == EVENTS + 4, "END counts the ACKs");

    d.ensure_topic = true;
    d.topic = names[3];
    pub = ensign_publisher_open(c, &d);
    ok(publish(NULL, 30) == ENSIGN_OK && answered(30) == 0, "ensure_topic: the topic is made");
    n = answer(ensign_topic_by_name(c, names[3], NULL), ENSIGN_NOTICE_TOPIC);
    if (n) ids[3] = n->as.topic->id;
    ok(n != NULL, "it is there");
    ensign_forget(c, pub.id);
}

/* ---------------------------------------------------------------- subscribe */

static bool whole(const ensign_event_t *e, const char *topic)
{
    ensign_slice_t value = { 0 };
    bool good = e->mimetype == ENSIGN_MIME_APPLICATION_JSON && is(e->type.name, "Number") && e->type.major == 1 &&
                e->type.minor == 2 && e->type.patch == 3 && ensign_metadata_get(e, "batch", &value) &&
                is(value, "7") && is(e->key, "k") && e->created.seconds > 0 && is(e->topic_name, topic);
    char text[1024];
    if (good) return true;
    ensign_event_text(e, text, sizeof text);
    printf("# %.*s: %s\n", (int)e->topic_name.len, (const char *)e->topic_name.ptr, text);
    return false;
}

static const ensign_notice_t *event(ensign_subscription_t s)
{
    const ensign_notice_t *n;
    while ((n = await(s.id)) != NULL && n->type == ENSIGN_NOTICE_OPEN) continue;
    return n && n->type == ENSIGN_NOTICE_EVENT ? n : NULL;
}

/* A server may say that it is ready before it is, so the first event is sent until it arrives. */
static bool greeted(ensign_subscription_t s)
{
    const ensign_notice_t *n;
    for (int i = 0; i < 10; i++) {
        if (publish(names[4], 99) != ENSIGN_OK || answered(99) != 0) return false;
        while (ensign_await(c, s.id, 1000, &n) == ENSIGN_OK)
            if (n->type == ENSIGN_NOTICE_EVENT) return true;
    }
    return false;
}

static void subscribing(void)
{
    const char *const topics[] = { names[4] };
    ensign_param_t params[2] = { 0 };
    ensign_subscription_desc_t d = { 0 };
    ensign_publisher_desc_t p = { 0 };
    ensign_subscription_t slow;
    const ensign_notice_t *n;
    char query[100];
    int got = 0;
    bool in_order = true;

    snprintf(query, sizeof query, "SELECT * FROM %s", names[4]);

    d.topics = topics;
    d.topic_count = 1;
    d.ensure_topics = true;
    d.query = query;
    params[0].name = "n";
    params[0].type = ENSIGN_PARAM_INT;
    params[1].name = "s";
    params[1].type = ENSIGN_PARAM_STRING;
    params[1].as.s = "";
    d.params = params;
    d.param_count = 2;
    sub = ensign_subscription_open(c, &d);
    n = sub.id ? await(sub.id) : NULL;
    ok(n && n->type == ENSIGN_NOTICE_OPEN, "subscribe: ensure_topics, query and params");
    d.query = NULL;
    d.param_count = 0;
    d.group = "readers";
    slow = ensign_subscription_open(c, &d);
    n = slow.id ? await(slow.id) : NULL;
    ok(n && n->type == ENSIGN_NOTICE_OPEN, "a second subscription to the same, in a group");
    pub = ensign_publisher_open(c, &p);
    ok(greeted(sub) && greeted(slow), "both hear");
    ensign_hold(c, slow.id, true); /* stopped for good */
    for (uint64_t i = 0; i < MANY; i++) in_order &= publish(names[4], 1000 + i) == ENSIGN_OK;
    while (got < MANY && (n = event(sub)) != NULL) {
        char data[40];
        snprintf(data, sizeof data, "{\"n\": %d}", 1000 + got);
        if (is(n->as.event->data, "{\"n\": 99}")) continue;
        in_order &= is(n->as.event->data, data) && whole(n->as.event, names[4]) &&
                    ensign_ack(c, sub, n->as.event->token) == ENSIGN_OK;
        got++;
    }
    ok(got == MANY && in_order, "a stopped reader holds up nobody: the other has all, whole and in order");
    ok(ensign_pending(c, slow.id), "what the stopped one did not read waits for it");
    ensign_forget(c, slow.id);
    ok(ensign_close(c, sub.id, ENSIGN_FOREVER) == ENSIGN_OK && (n = await(sub.id)) != NULL &&
           n->type == ENSIGN_NOTICE_END && !n->error, "close: END");
    ensign_forget(c, pub.id);
    n = answer(ensign_topic_by_name(c, names[4], NULL), ENSIGN_NOTICE_TOPIC);
    if (n) ids[4] = n->as.topic->id;
}

/* ---------------------------------------------------------------- query */

/* The rows of a query, checked; the count, or minus the code of its error. */
static int rows(const char *format, const char *topic, bool duplicates, int first)
{
    ensign_query_desc_t d = { 0 };
    ensign_query_t q;
    const ensign_notice_t *n;
    char sql[200], data[40];
    int count = 0;
    snprintf(sql, sizeof sql, format, topic);
    d.sql = sql;
    d.include_duplicates = duplicates;
    q = ensign_query_open(c, &d);
    while (q.id && (n = await(q.id)) != NULL && n->type == ENSIGN_NOTICE_EVENT) {
        snprintf(data, sizeof data, "{\"n\": %d}", first + count);
        if (first >= 0 && (!is(n->as.event->data, data) || !whole(n->as.event, topic))) return -1;
        count++;
    }
    if (!q.id || !n || n->type != ENSIGN_NOTICE_END) return -1;
    if (n->error) printf("# %s\n", n->error->text);
    if (n->error) return n->error->code;
    return n->as.end.count == (uint64_t)count ? count : -1;
}

static void querying(void)
{
    ensign_query_desc_t d = { 0 };
    const ensign_notice_t *n;
    ensign_query_t q;
    char sql[200];
    int count = 0;

    ok(rows("SELECT * FROM %s", names[2], false, 23) == 1, "query: one row, whole");
    ok(rows("SELECT * FROM %s LIMIT 5", names[0], false, 0) == EVENTS, "LIMIT, rows in order");
    ok(rows("SELECT * FROM %s OFFSET 2 LIMIT 2", names[0], true, 2) == 2, "OFFSET and LIMIT");
    ok(rows("SELECT * FROM %s OFFSET 100", names[0], false, 0) == 0, "no rows: no error");
    ok(rows("SELEKT * FROM %s", names[0], false, 0) == ENSIGN_E_INVALID_ARGUMENT, "a syntax error, in its words");
    ok(rows("SELECT * FROM %s", "nowhere", false, 0) == ENSIGN_E_INVALID_ARGUMENT, "an unknown topic");
    snprintf(sql, sizeof sql, "SELECT * FROM %s", names[4]);
    d.sql = sql;
    d.window_bytes = 4096;
    q = ensign_query_open(c, &d);
    n = q.id ? await(q.id) : NULL;
    ensign_hold(c, q.id, true);
    ok(n && answer(ensign_status(c, NULL), ENSIGN_NOTICE_STATUS), "a held cursor holds up nobody");
    ensign_hold(c, q.id, false);
    for (; n && n->type == ENSIGN_NOTICE_EVENT; n = await(q.id)) count++;
    ok(n && n->type == ENSIGN_NOTICE_END && !n->error && count >= MANY, "and goes on to the last row");
    q = ensign_query_open(c, &d);
    ok((n = await(q.id)) != NULL && ensign_forget(c, q.id) == ENSIGN_OK, "a cursor is closed half-way");
    n = await(ensign_explain(c, &d).id);
    ok(n && (n->type == ENSIGN_NOTICE_PLAN || (n->error && n->error->code == ENSIGN_E_UNIMPLEMENTED)),
       "explain: a plan, or UNIMPLEMENTED");
}

/* ---------------------------------------------------------------- info, policies, the end of topics */

static void info(void)
{
    ensign_request_t q = ensign_info(c, ids, 2, NULL);
    const ensign_notice_t *n = answer(q, ENSIGN_NOTICE_PROJECT);
    int topics = 0, types = 0;
    bool good = n && n->as.project->topics == 2, named = true;
    while (n && (n = await(q.id)) != NULL && n->type != ENSIGN_NOTICE_END) {
        topics += n->type == ENSIGN_NOTICE_TOPIC_INFO;
        types += n->type == ENSIGN_NOTICE_TYPE_INFO;
        if (n->type == ENSIGN_NOTICE_TOPIC_INFO)
            named &= is(n->as.topic_info->name, names[0]) || is(n->as.topic_info->name, names[1]);
    }
    ok(good && topics == 2 && named && n && !n->error && n->as.end.count == 2, "info: the project, its topics");
    printf("# %d types counted\n", types);
}

static void policies(void)
{
    ensign_dedup_t policy = { 0 };
    const ensign_notice_t *n;
    policy.strategy = ENSIGN_DEDUP_NONE;
    n = answer(ensign_topic_set_dedup(c, ids[0], &policy, NULL), ENSIGN_NOTICE_TOPIC_STATE);
    ok(n && n->as.topic_state.state == ENSIGN_TOPIC_READY && same(n->as.topic_state.id, ids[0]),
       "the same policy again: READY");
    policy.strategy = ENSIGN_DEDUP_KEY_GROUPED;
    ok(refused(ensign_topic_set_dedup(c, ids[0], &policy, NULL), ENSIGN_E_INVALID_ARGUMENT, "no keys"),
       "a policy without its keys: INVALID_ARGUMENT");
    ok(refused(ensign_topic_set_sharding(c, ids[0], ENSIGN_SHARDING_RANDOM, NULL), ENSIGN_E_UNIMPLEMENTED,
               "sharding"), "sharding: UNIMPLEMENTED");
}

/* The job of the server comes some time after its answer. A wait may end early. */
static bool gone(int i)
{
    for (int tries = 0; tries < 100000; tries++) {
        const ensign_notice_t *n = answer(ensign_topic_exists(c, NULL, &ids[i], NULL), ENSIGN_NOTICE_EXISTS);
        if (!n || !n->as.exists.exists) return n != NULL;
        if (ensign_wait(c, NULL, 0, 100) < 0) return false;
    }
    return false;
}

static void ending(void)
{
    const ensign_notice_t *n = answer(ensign_topic_archive(c, ids[2], NULL), ENSIGN_NOTICE_TOPIC_STATE);
    bool good = true;
    ok(n && n->as.topic_state.state == ENSIGN_TOPIC_READONLY, "archive: READONLY");
    n = answer(ensign_topic_by_id(c, ids[2], NULL), ENSIGN_NOTICE_TOPIC);
    ok(n && n->as.topic->readonly, "its record says so");
    for (int i = 0; i < TOPICS; i++) {
        n = answer(ensign_topic_destroy(c, ids[i], NULL), ENSIGN_NOTICE_TOPIC_STATE);
        good &= n && n->as.topic_state.state == ENSIGN_TOPIC_DELETING;
    }
    ok(good, "destroy: DELETING");
    for (int i = 0; i < TOPICS; i++) good &= gone(i);
    ok(good, "and then they are gone");
}

/* A key that may look, and no more. */
static void reader(ensign_desc_t d)
{
    ensign_t *all = c;
    ensign_publisher_desc_t p = { 0 };
    const ensign_notice_t *n;
    d.client_id = getenv("ENSIGN_READER_CLIENT_ID");
    d.client_secret = getenv("ENSIGN_READER_CLIENT_SECRET");
    if (!d.client_id || ensign_create(&d, &c, NULL) != ENSIGN_OK) return;
    ok(refused(ensign_topic_create(c, names[0], NULL, NULL), ENSIGN_E_PERMISSION_DENIED, "not authorized"),
       "a reader's key creates no topic: PERMISSION_DENIED");
    ok(refused(ensign_topic_destroy(c, ids[0], NULL), ENSIGN_E_PERMISSION_DENIED, "not authorized"),
       "nor does it destroy one");
    p.topic = names[0];
    p.ensure_topic = true;
    pub = ensign_publisher_open(c, &p);
    ok(publish(NULL, 1) == ENSIGN_OK && answered(1) == ENSIGN_NACK_NOT_SENT, "nor does it publish: NACK");
    n = await(pub.id);
    ok(n && n->type == ENSIGN_NOTICE_END && n->error && n->error->code == ENSIGN_E_PERMISSION_DENIED,
       "and END with PERMISSION_DENIED");
    ensign_destroy(c);
    c = all;
}

int main(int argc, char **argv)
{
    ensign_desc_t d = { 0 };
    ensign_error_t why = { 0 };
    if (argc != 2) {
        fprintf(stderr, "usage: service NAME\n");
        return 2;
    }
    for (int i = 0; i < TOPICS; i++) snprintf(names[i], sizeof names[i], "%.60s-%c", argv[1], 'a' + i);
    if (ensign_desc_env(&d, &why) != ENSIGN_OK || ensign_create(&d, &c, &why) != ENSIGN_OK) {
        printf("Bail out! %s\n", why.text);
        return 1;
    }
    server();
    create();
    publishing();
    subscribing();
    querying();
    info();
    policies();
    reader(d);
    ending();
    ensign_destroy(c);
    printf("1..%d\n", checks);
    return failures > 0;
}
