/* ensignd_nats.c - the engine of the log on NATS, beside the promises that each engine keeps (ensignd_log.c):
 * what it reads of NATS's texts, what it refuses at the start, and two nodes that share a log */
#include "logs.h"
#include "nats_server.h"
#include "../../tools/ensignd/nats_text.h"

/* ---- texts */

static nats_message_t message_of(const char *json)
{
    nats_message_t m = { "", "", { NULL, 0 }, 0, NULL };
    m.data = slice_text(json);
    return m;
}

static nats_answer_t answer_of(const char *json)
{
    nats_message_t m = message_of(json);
    nats_answer_t a;

    nats_answer_read(&m, &a);
    return a;
}

static void answers_are_read(void **state)
{
    nats_answer_t a = answer_of("{\"stream\":\"S\",\"seq\":18446744073709,\"duplicate\":true}");
    nats_message_t nobody = { "", "", { NULL, 0 }, 503, NULL };
    (void)state;

    assert_int_equal(a.code, 0);
    assert_int_equal(a.sequence, 18446744073709);
    a = answer_of("{\"config\":{\"num_replicas\":3,\"compression\":\"none\"},\"state\":{\"last_seq\":7},"
                  "\"created\":\"2026-11-30T21:51:44.5Z\"}");
    assert_int_equal(a.code, 0);
    assert_int_equal(a.last, 7);
    assert_int_equal(a.replicas, 3);
    assert_true(a.modern);
    assert_int_equal(a.created, UINT64_C(1796075504500000000));
    assert_false(answer_of("{\"config\":{\"num_replicas\":1}}").modern);
    assert_int_equal(answer_of("{\"message\":{\"seq\":9}}").sequence, 9);
    assert_int_equal(answer_of("{\"num_pending\":12}").pending, 12);
    nats_answer_read(NULL, &a);
    assert_int_equal(a.code, NATS_SILENT);
    nats_answer_read(&nobody, &a);
    assert_int_equal(a.code, NATS_NOBODY);
    assert_non_null(strstr(a.text, "leader"));
}

static void logins_are_not_shown(void **state)
{
    static const struct { const char *given, *shown; } rows[] = {
        { "nats://host:4222", "nats://host:4222" },
        { "nats://user:secret@host:4222", "nats://host:4222" },
        { "nats://a:b@c:d@one,host2:4222,tls://token@three", "nats://one,host2:4222,tls://three" },
        { "user:secret@host", "host" },
        { "nats://a@,", "nats://," },
        { "", "" },
    };
    (void)state;

    for (size_t i = 0; i < COUNT(rows); i++) {
        char *shown = nats_servers_shown(rows[i].given);
        assert_string_equal(shown, rows[i].shown);
        free(shown);
    }
}

static void errors_are_read(void **state)
{
    static const char *const bad[] = { "", "[]", "{", "\"text\"", "7", "{\"seq\":1} more",
                                       "{\"error\":{}}", "{\"error\":7}", "{\"created\":\"yesterday\"}" };
    nats_answer_t a = answer_of("{\"error\":{\"code\":400,\"err_code\":10071,\"description\":"
                                "\"wrong last sequence: 4711\"}}");
    (void)state;

    assert_int_equal(a.code, NATS_WRONG_SEQUENCE);
    assert_int_equal(a.sequence, 4711);
    a = answer_of("{\"error\":{\"code\":404,\"err_code\":10059,\"description\":\"stream not found\"}}");
    assert_int_equal(a.code, NATS_NO_STREAM);
    assert_string_equal(a.text, "stream not found");
    for (size_t i = 0; i < COUNT(bad); i++) {
        a = answer_of(bad[i]);
        assert_int_equal(a.code, NATS_UNREAD);
        assert_true(strlen(a.text) > 0);
    }
}

static void deliveries_are_read(void **state)
{
    static const char *const good[] = {
        "$JS.ACK.S.C.1.42.7.1796075504123456789.3",
        "$JS.ACK.domain.account.S.C.1.42.7.1796075504123456789.3",
        "$JS.ACK._.account.S.C.1.42.7.1796075504123456789.3.random",
    };
    static const char *const bad[] = {
        "", "$JS", "$JS.ACK.S.C.1.42.7.1.x", "$JS.ACK.S.C.1.42.7.1", "$JS.ACK.S.C.1..7.1.3", "a.b.S.C.1.42.7.1.3",
        "$JS.ACK.S.C.1.0.7.1.3", "$JS.ACK.S.C.1.99999999999999999999999.7.1.3",
        "$JS.ACK.a.b.c.d.e.f.g.h.i.j.k.l.m",
    };
    nats_delivery_t d;
    (void)state;

    for (size_t i = 0; i < COUNT(good); i++) {
        assert_true(nats_delivery_read(good[i], &d));
        assert_true(slice_is(d.consumer, "C"));
        assert_int_equal(d.sequence, 42);
        assert_int_equal(d.number, 7);
        assert_int_equal(d.when, UINT64_C(1796075504123456789));
        assert_int_equal(d.pending, 3);
    }
    for (size_t i = 0; i < COUNT(bad); i++) assert_false(nats_delivery_read(bad[i], &d));
}

static void times_are_read(void **state)
{
    static const char *const bad[] = { "", "2026", "2026-11-30", "2026-11-30T21:51:44", "2026-13-30T21:51:44Z",
                                       "2026-11-30T21:51:44+01:00", "2026-11-30T25:51:44Z", "x" };
    char text[UTC_TEXT];
    uint64_t ns;
    (void)state;

    assert_true(nats_time_read("1970-01-01T00:00:00Z", &ns));
    assert_int_equal(ns, 0);
    assert_true(nats_time_read("2000-02-29T23:59:59.000000001Z", &ns));
    assert_int_equal(ns, UINT64_C(951868799000000001));
    for (int64_t day = 0; day < 60000; day += 17) {
        assert_true(utc_text(day * 86400 + 12345, 987654321, text));
        assert_true(nats_time_read(text, &ns));
        assert_int_equal(ns, (uint64_t)(day * 86400 + 12345) * 1000000000u + 987654321u);
    }
    for (size_t i = 0; i < COUNT(bad); i++) assert_false(nats_time_read(bad[i], &ns));
}

static void any_key_is_one_token(void **state)
{
    uint8_t bytes[256];
    (void)state;

    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(255 - i);
    for (size_t n = 1; n <= sizeof bytes; n++) {
        char *token = nats_key_token(slice_of(bytes, n));
        buf_t key = { NULL, 0, 0, 0 };
        assert_int_equal(strcspn(token, ". *>\t"), strlen(token));
        assert_true(nats_token_key(token, &key));
        assert_true(slice_eq(buf_bytes(&key), slice_of(bytes, n)));
        buf_free(&key);
        free(token);
    }
}

/* ---- the start */

static bool is_refused(const char *words, const char *change)
{
    clock_runs = true;
    why.text[0] = '\0';
    logs = log_open(&log_nats, nats_server.url, LOG_WRITE, TIMEOUT_MS, &why);
    if (logs) return false;
    if (strstr(why.text, words) && strstr(why.text, change)) return true;
    print_error("%s\n", why.text);
    return false;
}

static void with_server(const char *more, const char *words, const char *change)
{
    bool refused;

    if (!nats_is_here() || getenv("NATS_URL")) skip();
    assert_true(nats_start(more));
    refused = is_refused(words, change);
    log_close(logs);
    logs = NULL;
    nats_stop();
    assert_true(refused);
}

static void small_messages_are_refused(void **state)
{
    (void)state;
    with_server("max_payload: 1MB", "1048576", "max_payload: 8MB");
}

static void no_jetstream_is_refused(void **state)
{
    (void)state;
    with_server("jetstream: false", "JetStream is off", "-js");
}

static void too_few_servers_are_refused(void **state)
{
    (void)state;
    log_nats_set("test", 3, 0);
    with_server("", "too few servers", "--replicas");
    log_nats_set("test", 0, 0);
}

static void a_wrong_login_is_refused(void **state)
{
    (void)state;
    with_server("authorization { user: a, password: b }", "login", "user:password@");
}

static void nobody_there_is_told(void **state)
{
    (void)state;
    if (!nats_is_here()) skip();
    snprintf(nats_server.url, sizeof nats_server.url, "nats://127.0.0.1:1,127.0.0.1:2");
    assert_true(is_refused("127.0.0.1:1,127.0.0.1:2", "start nats-server"));
    nats_server.url[0] = '\0';
}

/* ---- two nodes */

static log_t *nodes[2];

static int open_nodes(void **state)
{
    static char prefix[32];
    static int number;
    (void)state;

    clock_runs = true;
    if (!nats_is_here()) return 0;
    if (!nats_is_up() && !nats_start("")) return -1;
    snprintf(prefix, sizeof prefix, "nodes%d", ++number);
    log_nats_set(prefix, 0, 0);
    for (size_t i = 0; i < COUNT(nodes); i++) {
        nodes[i] = log_open(&log_nats, nats_server.url, LOG_WRITE, TIMEOUT_MS, &why);
        if (!nodes[i]) return -1;
    }
    logs = nodes[0];
    return 0;
}

static int close_nodes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(nodes); i++) log_close(nodes[i]);
    memset(nodes, 0, sizeof nodes);
    return 0;
}

static void turn_both(void)
{
    for (size_t i = 0; i < COUNT(nodes); i++) {
        logs = nodes[i];
        turn();
    }
    logs = nodes[0];
}

/* Of a topic of project 'p': with it, both nodes know the project. */
static log_put_t topic_record(void)
{
    static uint8_t key[7 + sizeof(ulid_t)] = "topic/";
    log_put_t r = put_of("", "record", 0);
    ulid_t p = id_of('p');

    memcpy(key + 6, p.b, sizeof p.b);
    key[6 + sizeof p.b] = 'n';
    r.key = slice_of(key, sizeof key);
    return r;
}

static bool knows(const log_t *l, ensign_slice_t key)
{
    return log_get(l, key, NULL, NULL);
}

static void a_record_of_one_node_is_known_at_the_other(void **state)
{
    log_put_t r = topic_record(), other = topic_record();
    ulid_t p = id_of('p');
    (void)state;

    if (!nodes[0]) skip();
    ANSWER(log_put, &r);
    assert_int_equal(r.base.result, LOG_OK);
    for (int i = 0; !knows(nodes[1], r.key); i++) {
        assert_true(i < TURNS_ALL);
        turn_both();
    }
    /* With the topic, the other one knows the project's stream. */
    assert_int_equal(log_epoch(nodes[0], &p), log_epoch(nodes[1], &p));
    assert_true(log_epoch(nodes[1], &p) > 1);
    logs = nodes[1];
    ANSWER(log_put, &other);
    assert_int_equal(other.base.result, LOG_CHANGED);
    other.revision = r.revision;
    ANSWER(log_put, &other);
    assert_int_equal(other.base.result, LOG_OK);
    logs = nodes[0];
    r.revision = LOG_ANY_REVISION;
    r.value = slice_text("");
    ANSWER(log_put, &r);
    for (int i = 0; knows(nodes[1], r.key); i++) {
        assert_true(i < TURNS_ALL);
        turn_both();
    }
}

static bool wins[2], puts_done[2];

static void put_is_done(log_request_t *r)
{
    bool *done = r->user;
    *done = true;
    wins[done - puts_done] = r->result == LOG_OK;
}

static void a_name_is_made_once(void **state)
{
    log_put_t r[2];
    (void)state;

    if (!nodes[0]) skip();
    for (int round = 0; round < 20; round++) {
        char key[16];
        snprintf(key, sizeof key, "name%d", round);
        for (size_t i = 0; i < 2; i++) {
            puts_done[i] = false;
            r[i] = put_of(key, i ? "one" : "other", 0);
            r[i].base.done = put_is_done;
            r[i].base.user = &puts_done[i];
            log_put(nodes[i], &r[i]);
        }
        for (int i = 0; !puts_done[0] || !puts_done[1]; i++) {
            assert_true(i < TURNS_ALL);
            turn_both();
        }
        assert_int_equal(wins[0] + wins[1], 1);
    }
}

typedef struct heard_t { log_follow_t f; uint64_t offsets[64]; size_t count; } heard_t;

static void hear(log_follow_t *f, const log_event_t *events, size_t count)
{
    heard_t *h = f->user;

    for (size_t i = 0; i < count; i++) {
        assert_true(h->count < COUNT(h->offsets));
        h->offsets[h->count++] = events[i].offset;
    }
}

static void both_nodes_hear_the_same(void **state)
{
    static heard_t heard[2];
    log_put_t r = topic_record();
    (void)state;

    if (!nodes[0]) skip();
    ANSWER(log_put, &r);
    while (!knows(nodes[1], r.key)) turn_both();
    memset(heard, 0, sizeof heard);
    for (size_t i = 0; i < 2; i++) {
        heard[i].f.project = id_of('p');
        heard[i].f.events = hear;
        heard[i].f.user = &heard[i];
        log_follow(nodes[i], &heard[i].f);
    }
    for (size_t i = 0; i < 40; i++) {
        logs = nodes[i % 3 == 0];
        append_text('p', 'a', "x");
    }
    for (int i = 0; heard[0].count < 40 || heard[1].count < 40; i++) {
        assert_true(i < TURNS_ALL);
        turn_both();
    }
    assert_memory_equal(heard[0].offsets, heard[1].offsets, sizeof heard[0].offsets);
    for (size_t i = 1; i < 40; i++) assert_true(heard[0].offsets[i] > heard[0].offsets[i - 1]);
    assert_int_equal(log_last(nodes[0], &heard[0].f.project), log_last(nodes[1], &heard[0].f.project));
}

static uint64_t append_key(log_t *node, const char *key)
{
    log_new_t event = { id_of('a'), slice_text("value"), 0, { NULL, 0 } };
    log_append_t r;

    logs = node;
    event.key = slice_text(key);
    memset(&r, 0, sizeof r);
    r.project = id_of('p');
    r.events = &event;
    r.count = 1;
    ANSWER(log_append, &r);
    assert_int_equal(r.base.result, LOG_OK);
    return event.offset;
}

static void a_key_is_stored_once_through_both(void **state)
{
    uint64_t first, second;
    (void)state;

    if (!nodes[0]) skip();
    first = append_key(nodes[0], "key 1");
    second = append_key(nodes[1], "key 2");
    assert_true(second > first);
    assert_int_equal(append_key(nodes[1], "key 1"), first);
    assert_int_equal(append_key(nodes[0], "key 2"), second);
    assert_true(append_key(nodes[0], "") > second);
    assert_int_not_equal(append_key(nodes[0], ""), append_key(nodes[0], ""));
}

#define OF_NODES(test) cmocka_unit_test_setup_teardown(test, open_nodes, close_nodes)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_read),
        cmocka_unit_test(errors_are_read),
        cmocka_unit_test(logins_are_not_shown),
        cmocka_unit_test(deliveries_are_read),
        cmocka_unit_test(times_are_read),
        cmocka_unit_test(any_key_is_one_token),
        cmocka_unit_test(small_messages_are_refused),
        cmocka_unit_test(no_jetstream_is_refused),
        cmocka_unit_test(too_few_servers_are_refused),
        cmocka_unit_test(a_wrong_login_is_refused),
        cmocka_unit_test(nobody_there_is_told),
        OF_NODES(a_record_of_one_node_is_known_at_the_other),
        OF_NODES(a_name_is_made_once),
        OF_NODES(both_nodes_hear_the_same),
        OF_NODES(a_key_is_stored_once_through_both),
    };
    int failed;

    if (!nats_is_here()) printf("# no nats-server: tools/nats_server builds one; its tests are skipped\n");
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    nats_stop();
    return failed;
}
