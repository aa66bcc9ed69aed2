/* query.c - EnSQL and Explain of the development server, over sockets
 *
 * The program starts an ensignd of its own ($ENSIGND, or build/ensignd) with three keys: one that may do
 * everything, one that may only publish, one that may only read topics. */
#include "server.h"
#include <inttypes.h>

enum { SMALL = 300, ORDERS = 20000, LARGE = 3000, LARGE_BYTES = 8192, SHOWN = 2048,
       WIDE_BYTES = 3000000 };
enum { ALL, WRITER, READER, KEYS };

#define ENSQL "/ensign.v1beta1.Ensign/EnSQL"
#define EXPLAIN "/ensign.v1beta1.Ensign/Explain"

static const char keys_text[] =
    "{ \"projects\": [ { \"name\": \"p\", \"keys\": [ { \"client_id\": \"all\", \"client_secret\": \"a\" },"
    " { \"client_id\": \"writer\", \"client_secret\": \"a\", \"permissions\": [ \"publisher\" ] },"
    " { \"client_id\": \"reader\", \"client_secret\": \"a\", \"permissions\": [ \"topics:read\" ] } ] } ] }";

static char folder[] = "/tmp/ensign-query-XXXXXX";
static ensign_t *clients[KEYS];

/* ------------------------------------------------------------------ topics and events */
static ensign_topic_t make_topic(const char *name)
{
    ensign_request_t r = ensign_topic_ensure(clients[ALL], name, NULL);
    const ensign_notice_t *n = next(clients[ALL], r.id);
    if (n->error) fail_msg("%s", n->error->text);
    assert_int_equal(n->type, ENSIGN_NOTICE_TOPIC);
    return *n->as.topic;        /* its slices are gone with the notice */
}

/* The data of an event, `size` bytes at most. Returns how many there are. */
typedef size_t make_t(char *out, size_t size, uint64_t number);

static size_t event_text(char *out, size_t size, uint64_t number)
{
    memset(out, '.', size);
    snprintf(out, size, "%08" PRIu64, number);
    out[8] = '.';
    return size - 9;
}

static size_t event_json(char *out, size_t size, uint64_t number)
{
    return (size_t)snprintf(out, size, "{\"n\":%" PRIu64 ",\"name\":\"item %" PRIu64 "\",\"even\":%s}",
                            number, number, number % 2 ? "false" : "true");
}

static size_t event_wide(char *out, size_t size, uint64_t number)
{
    (void)number;
    memset(out, 'a', size);
    memcpy(out, "{\"a\":\"", 6);
    memcpy(out + size - 2, "\"}", 2);
    return size;
}

/* Events numbered from `first` on; all are stored when it returns. */
static void publish_made(const char *topic, uint64_t first, uint64_t count, size_t size, make_t *make)
{
    ensign_t *c = clients[ALL];
    ensign_publisher_desc_t d;
    ensign_publisher_t p;
    ensign_event_t e;
    const ensign_notice_t *n;
    char *text = malloc(size + 9);
    uint64_t acked = 0;

    assert_non_null(text);
    memset(&d, 0, sizeof d);
    d.topic = topic;
    d.quiet_acks = true;
    p = ensign_publisher_open(c, &d);
    for (uint64_t i = 0; i < count;) {
        int rc;
        memset(&e, 0, sizeof e);
        e.data.len = make(text, size + 9, first + i);
        e.data.ptr = (const uint8_t *)text;
        rc = ensign_publish(c, p, &e);
        if (rc == ENSIGN_OK) i++;
        else if (rc == ENSIGN_AGAIN) next(c, p.id);
        else fail_msg("%s", ensign_error(c)->text);
    }
    assert_int_equal(ensign_close(c, p.id, WAIT_MS), ENSIGN_OK);
    do {
        n = next(c, p.id);
        if (n->type == ENSIGN_NOTICE_NACK) fail_msg("%s", n->error->text);
        if (n->last) acked = n->as.end.count;
    } while (!n->last);
    assert_int_equal(acked, count);
    free(text);
}

static void publish(const char *topic, uint64_t first, uint64_t count, size_t size)
{
    publish_made(topic, first, count, size, event_text);
}

static int set_up(void **state)
{
    static const char *const names[KEYS] = { "all", "writer", "reader" };
    (void)state;

    make_folder(folder, keys_text);
    server_start("--memory");
    for (int i = 0; i < KEYS; i++) clients[i] = client_of(names[i]);
    make_topic("small");
    make_topic("large");
    make_topic("empty");
    make_topic("orders");
    make_topic("wide");
    publish("small", 0, SMALL, 16);
    publish("large", 0, LARGE, LARGE_BYTES);
    publish_made("orders", 0, ORDERS, 64, event_json);
    publish_made("wide", 0, 1, WIDE_BYTES, event_wide);
    return 0;
}

static int tear_down(void **state)
{
    char command[80];
    int status = 0;
    (void)state;

    for (int i = 0; i < KEYS; i++) ensign_destroy(clients[i]);
    if (server > 0) status = server_stop(SIGTERM);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

/* ------------------------------------------------------------------ queries */
typedef struct rows_t {         /* what a query gave */
    uint64_t count, first, last;
    bool ascending;             /* by id, and each number one above the number before */
    bool committed;             /* all say when */
    int status;
    char text[SHOWN];
} rows_t;

static ensign_call_t open_call(int key, const char *method, const void *message, size_t len)
{
    ensign_call_desc_t d;
    ensign_slice_t first;
    ensign_call_t k;

    memset(&d, 0, sizeof d);
    d.method = method;
    d.wait_for_ready = true;
    k = ensign_call_open(clients[key], &d);
    if (!k.id) fail_msg("%s", ensign_error(clients[key])->text);
    first.ptr = (const uint8_t *)message;
    first.len = len;
    assert_int_equal(ensign_call_send(clients[key], k, first, 0), ENSIGN_OK);
    assert_int_equal(ensign_call_half_close(clients[key], k), ENSIGN_OK);
    return k;
}

static ensign_call_t ask_with(int key, const char *method, const char *sql, bool duplicates)
{
    uint8_t bytes[2048];
    ensi_pb_query_t q;
    size_t len = 0;

    memset(&q, 0, sizeof q);
    q.query.ptr = (const uint8_t *)sql;
    q.query.len = strlen(sql);
    q.include_duplicates = duplicates;
    assert_true(ensi_pb_encode(ensi_pb_query_fields, &q, bytes, sizeof bytes, &len));
    return open_call(key, method, bytes, len);
}

static ensign_call_t ask(int key, const char *method, const char *sql)
{
    return ask_with(key, method, sql, false);
}

static void note_row(rows_t *r, ensign_slice_t message, uint8_t id[10])
{
    ensi_pb_event_wrapper_t w;
    ensi_pb_event_t e;
    char digits[9] = "";
    uint64_t number;

    assert_true(ensi_pb_decode(ensi_pb_event_wrapper_fields, &w, message.ptr, message.len));
    assert_true(ensi_pb_decode(ensi_pb_event_fields, &e, w.event.ptr, w.event.len));
    assert_true(e.data.len >= 8 && w.id.len == 10);
    assert_int_equal(w.local_id.len, 0);
    memcpy(digits, e.data.ptr, 8);
    number = strtoull(digits, NULL, 10);
    if (r->count && (number != r->last + 1 || memcmp(w.id.ptr, id, 10) <= 0)) r->ascending = false;
    if (!w.has_committed) r->committed = false;
    if (r->count++ == 0) r->first = number;
    r->last = number;
    memcpy(id, w.id.ptr, 10);
}

/* Up to `most` rows, or to the end. */
static bool read_rows(int key, ensign_call_t k, uint64_t most, rows_t *r, uint8_t id[10])
{
    while (r->count < most) {
        const ensign_notice_t *n = next(clients[key], k.id);
        if (n->type == ENSIGN_NOTICE_MESSAGE) note_row(r, n->as.message.bytes, id);
        if (!n->last) continue;
        r->status = n->as.end.status;
        snprintf(r->text, sizeof r->text, "%.*s", (int)n->as.end.text.len, (const char *)n->as.end.text.ptr);
        return false;
    }
    return true;
}

static rows_t rows_of(int key, ensign_call_t k)
{
    rows_t r;
    uint8_t id[10];

    memset(&r, 0, sizeof r);
    r.ascending = r.committed = true;
    read_rows(key, k, UINT64_MAX, &r, id);
    return r;
}

static rows_t query(const char *sql)
{
    return rows_of(ALL, ask(ALL, ENSQL, sql));
}

static void rows_are(const char *sql, uint64_t first, uint64_t count)
{
    rows_t r = query(sql);
    if (r.status != ENSIGN_GRPC_OK || r.count != count || (count && (r.first != first || !r.ascending)))
        fail_msg("%s: status %d %s, %" PRIu64 " rows from %" PRIu64, sql, r.status, r.text, r.count, r.first);
    assert_true(r.committed);
}

static void rows_come_in_order(void **state)
{
    (void)state;
    rows_are("SELECT * FROM small", 0, SMALL);
    rows_are("SELECT * FROM large", 0, LARGE);
    rows_are("select * from small.schema.2 where (@data like '0%'", 0, SMALL);
}

static void offset_and_limit(void **state)
{
    (void)state;
    rows_are("SELECT * FROM small OFFSET 10", 10, SMALL - 10);
    rows_are("SELECT * FROM small LIMIT 7;", 0, 7);
    rows_are("SELECT * FROM small OFFSET 299", 299, 1);
    rows_are("SELECT * FROM small LIMIT 3 OFFSET 290", 290, 3);
    rows_are("SELECT * FROM small OFFSET 298 LIMIT 18446744073709551615", 298, 2);
    rows_are("SELECT * FROM large OFFSET 2500 LIMIT 400", 2500, 400);
}

static void no_rows_are_no_error(void **state)
{
    (void)state;
    rows_are("SELECT * FROM empty", 0, 0);
    rows_are("SELECT * FROM small OFFSET 300", 0, 0);
    rows_are("SELECT * FROM large OFFSET 18446744073709551615", 0, 0);
    rows_are("SELECT * FROM small LIMIT 0", 0, 0);
}

static void errors_have_the_words_of_the_service(void **state)
{
    static const char *const rows[][2] = {
        { "", "invalid query" },
        { "  ", "empty query is invalid" },
        { "SELECT * FROM nowhere", "unknown topic in query" },
        { "SELECT * FROM Small", "unknown topic in query" },
        { "SELECT * FROM limit", "syntax error at position 14 near \"limit\": invalid topic identifier" },
        { "SELECT * FROM '\xc3\xa9%'", "unknown topic in query" },
        { "SELECT * FROM (small)", "syntax error at position 14 near \"(\": invalid topic identifier" },
        { "SELECT * FROM small WHERE n = :n",
          "syntax error at position 30 near \":n\": no parameter of this name is given" },
        { "SELECT * FROM small WHERE \xc3\xa9 = 1",
          "syntax error at position 26 near \"\xc3\xa9\": invalid where clause: a condition begins with the "
          "name of a field" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rows_t r = query(rows[i][0]);
        assert_int_equal(r.status, ENSIGN_GRPC_INVALID_ARGUMENT);
        assert_int_equal(r.count, 0);
        assert_string_equal(r.text, rows[i][1]);
    }
}

static void broken_messages_are_refused(void **state)
{
    static const char *const messages[] = {
        "\x0a\x7f*", "\x0a\x01\xff", "\x0a\x13SELECT * FROM small\x12\x02\x2a\x09",
        "\x0a\x13SELECT * FROM small\x12\x03\x2a\x01\xff", "\x0a\x13SELECT * FROM small\x12\x03\x32\x01\xff",
    };
    (void)state;
    for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++) {
        rows_t r = rows_of(ALL, open_call(ALL, ENSQL, messages[i], strlen(messages[i])));
        assert_int_equal(r.status, ENSIGN_GRPC_INTERNAL);
        assert_string_equal(r.text, "grpc: failed to unmarshal the received message");
    }
}

/* A parameter of each kind, and none of them is named in the query. */
static void parameters_that_are_not_named_do_not_count(void **state)
{
    static const char head[] = "\x0a\x1bSELECT * FROM small LIMIT 2";
    static const uint8_t params[] = {
        0x12, 5, 0x08, 0x03, 0x32, 1, 'i', 0x12, 9, 0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f,
        0x12, 2, 0x18, 1, 0x12, 3, 0x22, 1, 0xff, 0x12, 3, 0x2a, 1, 's', 0x12, 0,
    };
    uint8_t message[sizeof head - 1 + sizeof params];
    rows_t r;
    (void)state;

    memcpy(message, head, sizeof head - 1);
    memcpy(message + sizeof head - 1, params, sizeof params);
    r = rows_of(ALL, open_call(ALL, ENSQL, message, sizeof message));
    assert_int_equal(r.status, ENSIGN_GRPC_OK);
    assert_int_equal(r.count, 2);
}

/* Through the query API, with parameters. The data of the rows, with a newline behind each. */
static void rows_have(const char *sql, const ensign_param_t *params, size_t count, const char *want)
{
    ensign_t *c = clients[ALL];
    ensign_query_desc_t d;
    ensign_query_t q;
    const ensign_notice_t *n;
    char text[1024] = "";
    size_t len = 0;

    memset(&d, 0, sizeof d);
    d.sql = sql;
    d.params = params;
    d.param_count = count;
    q = ensign_query_open(c, &d);
    assert_true(q.id != 0);
    do {
        n = next(c, q.id);
        if (n->type != ENSIGN_NOTICE_EVENT) continue;
        assert_true(len + n->as.event->data.len + 2 < sizeof text);
        memcpy(text + len, n->as.event->data.ptr, n->as.event->data.len);
        len += n->as.event->data.len;
        text[len++] = '\n';
    } while (!n->last);
    text[len] = '\0';
    if (n->error) fail_msg("%s: %s", sql, n->error->text);
    if (strcmp(text, want) != 0) fail_msg("%s\n%s", sql, text);
}

static void where_takes_the_events_that_match(void **state)
{
    ensign_param_t params[3];
    (void)state;

    memset(params, 0, sizeof params);
    params[0].name = "most";
    params[0].type = ENSIGN_PARAM_INT;
    params[0].as.i = 2;
    params[1].name = "name";
    params[1].type = ENSIGN_PARAM_STRING;
    params[1].as.s = "item 1999_";
    params[2].name = "even";
    params[2].type = ENSIGN_PARAM_BOOL;
    params[2].as.b = false;
    rows_have("SELECT * FROM orders WHERE n = 3", NULL, 0, "{\"n\":3,\"name\":\"item 3\",\"even\":false}\n");
    rows_have("SELECT n FROM 'orders' WHERE even = :even AND n < 7 LIMIT :most OFFSET 1", params, 3,
              "{\"n\":3}\n{\"n\":5}\n");
    rows_have("SELECT n AS x, @mimetype FROM orders WHERE name LIKE :name AND NOT even = :even", params, 3,
              "{\"x\":19990,\"@mimetype\":\"application/octet-stream\"}\n"
              "{\"x\":19992,\"@mimetype\":\"application/octet-stream\"}\n"
              "{\"x\":19994,\"@mimetype\":\"application/octet-stream\"}\n"
              "{\"x\":19996,\"@mimetype\":\"application/octet-stream\"}\n"
              "{\"x\":19998,\"@mimetype\":\"application/octet-stream\"}\n");
    rows_have("SELECT * FROM orders WHERE n = 1 OR n = 0 LIMIT 1", NULL, 0,
              "{\"n\":0,\"name\":\"item 0\",\"even\":true}\n");
    rows_have("SELECT * FROM orders WHERE n > 1e6", NULL, 0, "");
    rows_have("SELECT n FROM orders LIMIT 0", NULL, 0, "");
    rows_have("SELECT n FROM orders OFFSET 19999", NULL, 0, "{\"n\":19999}\n");
    rows_have("SELECT n FROM small", NULL, 0, "");      /* is not JSON */
}

static void offset_and_limit_count_rows_of_where(void **state)
{
    (void)state;
    rows_are("SELECT * FROM small WHERE @data > '00000100'", 100, 200);
    rows_are("SELECT * FROM small WHERE @data > '00000100' OFFSET 5", 105, 195);
    rows_are("SELECT * FROM small WHERE @data > '00000100' LIMIT 3 OFFSET 5", 105, 3);
    rows_are("SELECT * FROM large WHERE @data > '00002000' AND @data < '00002500' LIMIT 9", 2000, 9);
    rows_are("SELECT * FROM large WHERE @data > '00002000' OFFSET 1000", 0, 0);
}

static void status_is_answered(int key)
{
    ensign_call_t k = open_call(key, "/ensign.v1beta1.Ensign/Status", "", 0);
    const ensign_notice_t *n;

    do n = next(clients[key], k.id);
    while (!n->last);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_OK);
}

/* The scans that are open look at a million events, and no event is a row. If one of them held the server up,
   the last of the three answers would come behind all of them. */
static void a_scan_holds_up_nobody(void **state)
{
    enum { SCANS = 50 };
    ensign_call_t scans[SCANS];
    rows_t r;
    uint8_t id[10];
    int running = 0;
    (void)state;

    for (int i = 0; i < SCANS; i++) scans[i] = ask(ALL, ENSQL, "SELECT * FROM orders WHERE n < 0");
    for (int i = 0; i < 3; i++) status_is_answered(ALL);
    for (int i = 0; i < SCANS; i++) assert_int_equal(ensign_cancel(clients[ALL], scans[i].id), ENSIGN_OK);
    for (int i = 0; i < SCANS; i++) {
        memset(&r, 0, sizeof r);
        read_rows(ALL, scans[i], UINT64_MAX, &r, id);
        assert_int_equal(r.count, 0);
        if (r.status == ENSIGN_GRPC_CANCELLED) running++;
    }
    assert_true(running > 0);
    rows_are("SELECT * FROM small", 0, SMALL);
}

/* `more` many times between the two. */
static void ends_at_the_wide_event(const char *before, const char *more, int count, const char *after,
                                   const char *words)
{
    char sql[2000];
    size_t n = (size_t)snprintf(sql, sizeof sql, "%s", before);
    rows_t r;

    for (int i = 0; i < count; i++) n += (size_t)snprintf(sql + n, sizeof sql - n, more, i);
    snprintf(sql + n, sizeof sql - n, "%s", after);
    r = query(sql);
    assert_int_equal(r.status, ENSIGN_GRPC_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(r.text, "the query ended at the event with @id '"));
    assert_non_null(strstr(r.text, words));
    assert_non_null(strstr(r.text, "' AND ... leaves it out"));
    assert_int_equal(r.count, 0);
}

/* An event of three million bytes, whose field is given or tested again and again. */
static void a_query_that_costs_too_much_ends(void **state)
{
    (void)state;
    ends_at_the_wide_event("SELECT a", ", a AS a%d", 20, " FROM wide", "row would have more than 4 MiB");
    ends_at_the_wide_event("SELECT @data", ", @data AS a%d", 20, " FROM wide",
                           "row would have more than 4 MiB");
    ends_at_the_wide_event("SELECT * FROM wide WHERE a IS NULL", " OR a LIKE '%%aaaaaaaaaaaaaaaa_b%%'", 40,
                           "", "look at more than 32 MiB");
    rows_have("SELECT @mimetype FROM wide WHERE a LIKE '%a_a%' AND a LIKE 'a%' AND NOT a LIKE '%b%'", NULL, 0,
              "{\"@mimetype\":\"application/octet-stream\"}\n");
}

static void permissions(void **state)
{
    rows_t r;
    (void)state;

    r = rows_of(WRITER, ask(WRITER, ENSQL, "SELECT * FROM small"));
    assert_int_equal(r.status, ENSIGN_GRPC_PERMISSION_DENIED);
    assert_string_equal(r.text, "not authorized to perform this action");
    r = rows_of(READER, ask(READER, ENSQL, "SELECT * FROM small"));
    assert_int_equal(r.status, ENSIGN_GRPC_OK);
    assert_int_equal(r.count, SMALL);
    r = rows_of(READER, ask(READER, EXPLAIN, "SELECT * FROM small"));
    assert_int_equal(r.status, ENSIGN_GRPC_PERMISSION_DENIED);
}

static void cancelled_half_way(void **state)
{
    rows_t r;
    uint8_t id[10];
    (void)state;

    for (int i = 0; i < 20; i++) {
        const char *sql = i % 2 ? "SELECT * FROM large WHERE @offset >= 0" : "SELECT * FROM large";
        ensign_call_t k = ask(ALL, ENSQL, sql);
        memset(&r, 0, sizeof r);
        r.ascending = true;
        assert_true(read_rows(ALL, k, 1 + (uint64_t)i * 3, &r, id));
        assert_int_equal(ensign_cancel(clients[ALL], k.id), ENSIGN_OK);
        read_rows(ALL, k, UINT64_MAX, &r, id);
        assert_int_equal(r.status, ENSIGN_GRPC_CANCELLED);
        assert_true(r.ascending && r.count < LARGE);
    }
    rows_are("SELECT * FROM small", 0, SMALL);
}

static long server_kib(void)
{
    char path[64], line[128];
    long kib = -1;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/status", (int)server);
    f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) sscanf(line, "VmRSS: %ld", &kib);
    fclose(f);
    assert_true(kib > 0);
    return kib;
}

/* While it is held the server does much else, and has all the time that it would need to read ahead. What is
   published meanwhile is not in it. */
static void held_cursor_costs_little_and_goes_on(void **state)
{
    /* what one of them would hold, had it been read ahead; a sanitizer keeps what was freed for a while, too */
    enum { CURSORS = 8, ALLOWED_KIB = LARGE * (LARGE_BYTES / 1024) };
    ensign_call_t held[CURSORS];
    rows_t r[CURSORS];
    uint8_t id[CURSORS][10];
    long before;
    (void)state;

    rows_are("SELECT * FROM large", 0, LARGE);  /* what the first of its kind takes, for good */
    before = server_kib();
    memset(r, 0, sizeof r);
    for (int i = 0; i < CURSORS; i++) {
        held[i] = ask(ALL, ENSQL,
                      i % 2 ? "SELECT * FROM large WHERE @data LIKE '0%'" : "SELECT * FROM large");
        r[i].ascending = r[i].committed = true;
        assert_true(read_rows(ALL, held[i], 1, &r[i], id[i]));
        assert_int_equal(ensign_hold(clients[ALL], held[i].id, true), ENSIGN_OK);
    }
    for (int i = 0; i < 20; i++) rows_are("SELECT * FROM small", 0, SMALL);
    publish("large", LARGE, 1, 16);
    rows_are("SELECT * FROM large OFFSET 3000", LARGE, 1);
    if (server_kib() - before > ALLOWED_KIB)
        fail_msg("%d held cursors: from %ld to %ld KiB", CURSORS, before, server_kib());
    for (int i = 0; i < CURSORS; i++) {
        assert_false(read_rows(ALL, held[i], UINT64_MAX, &r[i], id[i]));
        assert_int_equal(r[i].status, ENSIGN_GRPC_OK);
        assert_int_equal(r[i].count, LARGE);
        assert_true(r[i].ascending);
    }
}

/* Returns once the server has been through the topic; false: it does not know policies. */
static bool deduplicate(ensign_topic_t topic)
{
    ensi_pb_topic_policy_t policy;
    const ensign_notice_t *n;
    uint8_t bytes[100];
    char id[27];
    size_t len = 0;
    ensign_call_t k;
    int status;

    memset(&policy, 0, sizeof policy);
    ensign_ulid_text(topic.id, id);
    policy.id.ptr = (const uint8_t *)id;
    policy.id.len = 26;
    policy.has_deduplication_policy = true;
    policy.deduplication_policy.strategy = ENSI_PB_DEDUPLICATION_STRATEGY_STRICT;
    assert_true(ensi_pb_encode(ensi_pb_topic_policy_fields, &policy, bytes, sizeof bytes, &len));
    k = open_call(ALL, "/ensign.v1beta1.Ensign/SetTopicPolicy", bytes, len);
    do n = next(clients[ALL], k.id);
    while (!n->last);
    status = n->as.end.status;
    if (status == ENSIGN_GRPC_UNIMPLEMENTED) return false;
    assert_int_equal(status, ENSIGN_GRPC_OK);
    while (make_topic("twice").state == ENSIGN_TOPIC_PENDING) {}
    return true;
}

static void duplicates_are_left_out_or_made_whole(void **state)
{
    static const int numbers[] = { 5, 5, 6, 5, 7 };
    ensign_topic_t topic = make_topic("twice");
    rows_t r;
    (void)state;

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        publish("twice", (uint64_t)numbers[i], 1, 16);
    if (!deduplicate(topic)) skip();
    rows_are("SELECT * FROM twice", 5, 3);
    rows_are("SELECT * FROM twice OFFSET 1", 6, 2);     /* the one that is left out counts */
    rows_are("SELECT * FROM twice OFFSET 1 LIMIT 1", 6, 1);
    r = rows_of(ALL, ask_with(ALL, ENSQL, "SELECT * FROM twice", true));
    assert_int_equal(r.status, ENSIGN_GRPC_OK);
    assert_int_equal(r.count, 5);
    assert_true(r.first == 5 && r.last == 7);
    r = rows_of(ALL, ask_with(ALL, ENSQL, "SELECT * FROM twice OFFSET 1 LIMIT 1", true));
    assert_true(r.count == 1 && r.first == 5);
    rows_are("SELECT * FROM twice WHERE @data LIKE '00000005%'", 5, 1);
    rows_are("SELECT * FROM twice WHERE @is_duplicate = false OFFSET 2", 7, 1); /* rows, not stored events */
    r = rows_of(ALL, ask_with(ALL, ENSQL, "SELECT * FROM twice WHERE @data LIKE '00000005%'", true));
    assert_true(r.status == ENSIGN_GRPC_OK && r.count == 3);
    r = rows_of(ALL, ask_with(ALL, ENSQL, "SELECT * FROM twice WHERE @is_duplicate = true OFFSET 1", true));
    assert_true(r.status == ENSIGN_GRPC_OK && r.count == 1 && r.first == 5);
}

static bool exists(const char *name)
{
    ensign_request_t r = ensign_topic_exists(clients[ALL], name, NULL, NULL);
    const ensign_notice_t *n = next(clients[ALL], r.id);

    assert_int_equal(n->type, ENSIGN_NOTICE_EXISTS);
    return n->as.exists.exists;
}

/* Its rows are held back until the topic is gone: what is missing must not look like the end. */
static void a_destroyed_topic_aborts_its_queries(void **state)
{
    ensign_topic_t topic = make_topic("doomed");
    ensign_request_t destroy;
    ensign_call_t k;
    rows_t r;
    uint8_t id[10];
    (void)state;

    publish("doomed", 0, 1000, LARGE_BYTES);
    k = ask(ALL, ENSQL, "SELECT * FROM doomed WHERE @data LIKE '0%'");
    memset(&r, 0, sizeof r);
    r.ascending = true;
    assert_true(read_rows(ALL, k, 1, &r, id));
    assert_int_equal(ensign_hold(clients[ALL], k.id, true), ENSIGN_OK);
    destroy = ensign_topic_destroy(clients[ALL], topic.id, NULL);
    assert_int_equal(next(clients[ALL], destroy.id)->type, ENSIGN_NOTICE_TOPIC_STATE);
    while (exists("doomed")) {}
    read_rows(ALL, k, UINT64_MAX, &r, id);
    assert_int_equal(r.status, ENSIGN_GRPC_ABORTED);
    assert_true(r.ascending && r.count < 1000);
}

static int explain(const char *sql, rows_t *r)
{
    ensign_call_t k = ask(ALL, EXPLAIN, sql);
    const ensign_notice_t *n;
    int answers = 0;

    memset(r, 0, sizeof *r);
    do {
        n = next(clients[ALL], k.id);
        if (n->type == ENSIGN_NOTICE_MESSAGE) answers++;
    } while (!n->last);
    r->status = n->as.end.status;
    snprintf(r->text, sizeof r->text, "%.*s", (int)n->as.end.text.len, (const char *)n->as.end.text.ptr);
    return answers;
}

/* Its status has all of the longest plan. Two texts of the query are cut, both between two characters. */
static void explain_cuts_between_characters(void **state)
{
    char sql[2000] = "SELECT a AS \"", plan[1600] = "; takes those WHERE a='", name[513];
    rows_t r;
    (void)state;

    for (int i = 0; i < 150; i++) strcat(sql, "\xc3\xa9");
    memset(name, 'n', 512);
    name[512] = '\0';
    make_topic(name);
    snprintf(sql + strlen(sql), sizeof sql - strlen(sql), "\" FROM %s WHERE a='", name);
    for (int i = 0; i < 150; i++) strcat(sql, "\xc3\xa9");
    strcat(sql, "' OFFSET 18446744073709551615 LIMIT 18446744073709551615");
    for (int i = 0; i < 123; i++) strcat(plan, "\xc3\xa9");
    strcat(plan, "... (conditions: 1); takes those that are JSON, and gives of each an object with a AS \"");
    for (int i = 0; i < 122; i++) strcat(plan, "\xc3\xa9");
    strcat(plan, "...; skips 18446744073709551615 rows; ends after 18446744073709551615 rows");
    assert_int_equal(explain(sql, &r), 1);
    assert_int_equal(r.status, ENSIGN_GRPC_OK);
    assert_string_equal(strstr(r.text, "; takes those WHERE"), plan);
}

static void explain_tells_what_a_query_would_do(void **state)
{
    static const char plan[] =
        ") in the order of their commits; leaves out duplicates; takes those WHERE a=1 AND NOT b='\xc3\xa9' "
        "(conditions: 2); takes those that are JSON, and gives of each an object with a, b AS c; "
        "skips 5 rows; ends after 6 rows; of any schema and version";
    static const char plain[] =
        ") in the order of their commits; skips 5 of them; leaves out duplicates; ends after 6 rows";
    rows_t r;
    (void)state;

    assert_int_equal(
        explain("SELECT a, b AS c FROM small.s.1 WHERE a=1 AND NOT b='\xc3\xa9' OFFSET 5 LIMIT 6", &r), 1);
    assert_int_equal(r.status, ENSIGN_GRPC_OK);
    assert_non_null(strstr(r.text, "looks at 300 events of topic small ("));
    assert_non_null(strstr(r.text, plan));
    assert_int_equal(explain("SELECT * FROM orders LIMIT 6 OFFSET 5", &r), 1);
    assert_non_null(strstr(r.text, "looks at 20000 events of topic orders ("));
    assert_string_equal(strchr(r.text, ')'), plain);
    assert_int_equal(explain("SELECT * FROM empty", &r), 1);
    assert_non_null(strstr(r.text, "looks at 0 events"));
    assert_int_equal(explain("SELECT * FROM small WHERE", &r), 0);
    assert_int_equal(r.status, ENSIGN_GRPC_INVALID_ARGUMENT);
    assert_string_equal(r.text, "syntax error at position 25 near \"\": invalid where clause: a condition "
                                "begins with the name of a field");
    assert_int_equal(explain("SELECT * FROM nowhere", &r), 0);
    assert_int_equal(r.status, ENSIGN_GRPC_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_in_order),
        cmocka_unit_test(offset_and_limit),
        cmocka_unit_test(no_rows_are_no_error),
        cmocka_unit_test(errors_have_the_words_of_the_service),
        cmocka_unit_test(broken_messages_are_refused),
        cmocka_unit_test(parameters_that_are_not_named_do_not_count),
        cmocka_unit_test(where_takes_the_events_that_match),
        cmocka_unit_test(offset_and_limit_count_rows_of_where),
        cmocka_unit_test(a_scan_holds_up_nobody),
        cmocka_unit_test(a_query_that_costs_too_much_ends),
        cmocka_unit_test(permissions),
        cmocka_unit_test(cancelled_half_way),
        cmocka_unit_test(held_cursor_costs_little_and_goes_on),
        cmocka_unit_test(duplicates_are_left_out_or_made_whole),
        cmocka_unit_test(a_destroyed_topic_aborts_its_queries),
        cmocka_unit_test(explain_tells_what_a_query_would_do),
        cmocka_unit_test(explain_cuts_between_characters),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
