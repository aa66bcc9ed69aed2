/* query.c - the development server's queries over a store of the test's own: duplicates, the real service's
 * oddities, what is read ahead, failures; and duplicates made whole */
#include "../../tools/ensignd/query.c"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

enum { RECORDS = 6000, ROWS_SHOWN = 16, MANY = 5000 };

/* ------------------------------------------------------------------ a store, and a call */
typedef struct stored_t { uint8_t key[EVENT_KEY]; uint8_t *value; size_t len; } stored_t;

static stored_t stored[RECORDS];
static size_t stored_count, read_count; /* records that scans gave out */
static int fails_at;                    /* the call of the store that fails, counted down to 0 */
static topic_t weather = { .name = (char *)(uintptr_t)"weather" };
static topics_t topics;
static service_t service = { .topics = &topics };
static call_t call;
static char rows[ROWS_SHOWN][64];       /* as `row_text` has them */
static size_t row_count;

static bool store_fails(why_t *why)
{
    why->text[0] = '\0';
    return fails_at > 0 && --fails_at == 0;
}

bool store_scan(store_t *s, store_space_t space, ensign_slice_t prefix, ensign_slice_t after,
                store_each_t *each, void *user, why_t *why)
{
    (void)s;
    assert_int_equal(space, STORE_EVENT);
    if (store_fails(why)) return false;
    for (size_t i = 0; i < stored_count; i++) {
        const stored_t *r = &stored[i];
        if (memcmp(r->key, prefix.ptr, prefix.len) != 0) continue;
        if (after.len && memcmp(r->key, after.ptr, after.len) <= 0) continue;
        read_count++;
        if (!each(user, slice_of(r->key, EVENT_KEY), slice_of(r->value, r->len))) break;
    }
    return true;
}

bool store_get(store_t *s, store_space_t space, ensign_slice_t key, buf_t *value, why_t *why)
{
    (void)s;
    (void)space;
    if (store_fails(why)) return false;
    for (size_t i = 0; i < stored_count; i++)
        if (slice_eq(key, slice_of(stored[i].key, EVENT_KEY))) buf_put(value, stored[i].value, stored[i].len);
    return true;
}

bool store_tail(store_t *s, store_space_t space, ensign_slice_t prefix, buf_t *key, why_t *why)
{
    (void)s;
    (void)space;
    (void)prefix;
    if (store_fails(why)) return false;
    if (stored_count) buf_put(key, stored[stored_count - 1].key, EVENT_KEY);
    return true;
}

topic_t *topics_by_name(const topics_t *t, const ulid_t *project, ensign_slice_t name)
{
    (void)t;
    (void)project;
    return slice_is(name, weather.name) ? &weather : NULL;
}

static void print_to(char *out, size_t cap, const char *format, ...)
{
    size_t n = strlen(out);
    va_list args;
    va_start(args, format);
    vsnprintf(out + n, cap - n, format, args);
    va_end(args);
}

/* "number data mimetype type [key=value...]", what is not there left out; "!" if it is a duplicate, "@" if it
   says when it was committed. */
static void row_text(ensign_slice_t row, char *out, size_t cap)
{
    msg_event_metadata_entry_t m;
    msg_event_wrapper_t w;
    msg_event_t e;
    ensign_slice_t entry;
    size_t at = 0;

    assert_true(msg_decode(MSG_EVENT_WRAPPER, &w, row));
    assert_true(msg_decode(MSG_EVENT, &e, w.event));
    out[0] = '\0';
    print_to(out, cap, "%d %.*s", w.id.ptr[9], (int)e.data.len, e.data.ptr ? (const char *)e.data.ptr : "");
    if (e.mimetype) print_to(out, cap, " %d", (int)e.mimetype);
    if (e.has_type) print_to(out, cap, " %.*s", (int)e.type.name.len, (const char *)e.type.name.ptr);
    while (msg_next(e.metadata, MSG_EVENT_METADATA_TAG, &at, &entry)) {
        assert_true(msg_decode(MSG_EVENT_METADATA_ENTRY, &m, entry));
        print_to(out, cap, " %.*s=%.*s", (int)m.key.len, (const char *)m.key.ptr, (int)m.value.len,
                 m.value.ptr ? (const char *)m.value.ptr : "");
    }
    if (e.has_created) print_to(out, cap, " %ds", (int)e.created.seconds);
    if (w.has_compression) print_to(out, cap, " gz");
    if (w.is_duplicate) print_to(out, cap, "!");
    if (w.has_committed) print_to(out, cap, "@");
}

/* No Explain is asked here. */
bool numbers_advance(service_t *s, const topic_t *t, const rlid_t *until, bool *more, why_t *why)
{
    (void)s, (void)t, (void)until, (void)more, (void)why;
    return false;
}

uint64_t numbers_events(service_t *s, const topic_t *t)
{
    (void)s, (void)t;
    return 0;
}

rlid_t broker_last(const broker_t *b)
{
    (void)b;
    return rlid_make(0, 0);
}

void call_send(call_t *c, ensign_slice_t message)
{
    if (message.len && row_count < ROWS_SHOWN) row_text(message, rows[row_count], sizeof rows[0]);
    row_count++;
    buf_put(&c->out, message.ptr, message.len);
}

void call_end(call_t *c, int status, const char *text)
{
    assert_false(c->ended);
    c->ended = true;
    c->status = status;
    c->status_text = x_strdup(text ? text : "");
}

/* ------------------------------------------------------------------ records */
typedef struct record_t {
    const char *data;           /* NULL: no event at all */
    int mimetype;
    const char *type, *pairs[4];
    int created;
    uint8_t of;                 /* the number of its original; 0: it is no duplicate */
    bool compressed;
} record_t;

static size_t put_pairs(uint8_t *out, const char *const *pairs)
{
    uint8_t *p = out;

    for (int i = 0; i < 4 && pairs[i]; i += 2) {
        size_t n = msg_bytes_size(1, strlen(pairs[i])) + msg_bytes_size(2, strlen(pairs[i + 1]));
        p = msg_put_varint(p, MSG_EVENT_METADATA_TAG << 3 | MSG_WIRE_BYTES);
        p = msg_put_varint(p, n);
        p = msg_put_bytes(p, 1, slice_text(pairs[i]));
        p = msg_put_bytes(p, 2, slice_text(pairs[i + 1]));
    }
    return (size_t)(p - out);
}

/* As a wrapper, with number `n` in its id, and committed. */
static size_t encode_record(const record_t *r, uint8_t n, uint8_t *out, size_t cap)
{
    uint8_t event[1200], pairs[200], id[10] = { 0 }, of[10] = { 0 };
    msg_event_wrapper_t w;
    msg_event_t e;
    size_t len = 0;

    memset(&e, 0, sizeof e);
    memset(&w, 0, sizeof w);
    e.data = slice_text(r->data);
    e.mimetype = r->mimetype;
    e.has_type = r->type != NULL;
    e.type.name = slice_text(r->type);
    e.metadata.ptr = pairs;
    e.metadata.len = put_pairs(pairs, r->pairs);
    e.has_created = r->created != 0;
    e.created.seconds = r->created;
    assert_true(msg_encode(MSG_EVENT, &e, event, sizeof event, &len));
    id[9] = n;
    w.id.ptr = id;
    w.id.len = sizeof id;
    w.event.ptr = event;
    w.event.len = r->data ? len : 0;
    w.has_compression = r->compressed;
    w.compression.level = 9;
    of[9] = r->of;
    w.is_duplicate = r->of != 0;
    w.duplicate_id.ptr = of;
    w.duplicate_id.len = r->of ? sizeof of : 0;
    w.has_committed = true;
    w.committed.seconds = 5;
    assert_true(msg_encode(MSG_EVENT_WRAPPER, &w, out, cap, &len));
    return len;
}

static void store_bytes(const void *value, size_t len)
{
    stored_t *r = &stored[stored_count++];

    assert_true(stored_count <= RECORDS);
    memcpy(r->key, weather.id.b, 16);
    memset(r->key + 16, 0, 8);
    r->key[24] = (uint8_t)(stored_count >> 8);
    r->key[25] = (uint8_t)(stored_count & 0xff);
    r->value = x_alloc(len);
    r->len = len;
    memcpy(r->value, value, len);
}

static void store(record_t r)
{
    uint8_t bytes[1500];
    store_bytes(bytes, encode_record(&r, (uint8_t)((stored_count + 1) & 0xff), bytes, sizeof bytes));
}

/* ------------------------------------------------------------------ queries */
static void start(const char *sql, bool duplicates)
{
    uint8_t bytes[5000];
    msg_query_t q;
    size_t len = 0;

    memset(&q, 0, sizeof q);
    q.query = slice_text(sql);
    q.include_duplicates = duplicates;
    assert_true(msg_encode(MSG_QUERY, &q, bytes, sizeof bytes, &len));
    memset(&call, 0, sizeof call);
    call.claims.has_project = true;
    row_count = read_count = 0;
    rpc_ensql(&service, &call, slice_of(bytes, len));
}

/* What the pump does when the queue has become short. */
static void read_all(void)
{
    while (!call.ended) {
        call.out.start = call.out.end = 0;
        call.refill(&service, &call);
    }
}

static void finish_call(void)
{
    ensql_closed(&service, &call);
    assert_null(call.state);
    buf_free(&call.out);
    free(call.status_text);
}

/* The rows, up to a NULL. */
static void gives(const char *sql, bool duplicates, const char *const *wanted)
{
    size_t n = 0;

    start(sql, duplicates);
    read_all();
    assert_int_equal(call.status, GRPC_OK);
    assert_string_equal(call.status_text, "");
    for (; wanted[n]; n++) {
        assert_true(n < row_count);
        assert_string_equal(rows[n], wanted[n]);
    }
    assert_int_equal(row_count, n);
    finish_call();
}
#define GIVES(sql, duplicates, ...) \
    do { \
        static const char *const wanted[] = { __VA_ARGS__, NULL }; \
        gives(sql, duplicates, wanted); \
    } while (0)

static int clean(void **state)
{
    (void)state;
    for (size_t i = 0; i < stored_count; i++) free(stored[i].value);
    stored_count = 0;
    fails_at = 0;
    service.strict = false;
    return 0;
}

static void duplicates_are_left_out(void **state)
{
    (void)state;
    store((record_t){ .data = "a" });
    store((record_t){ .of = 1 });
    store((record_t){ .data = "b" });
    store((record_t){ .data = "", .created = 4, .of = 3 });
    store((record_t){ .data = "c" });
    GIVES("SELECT * FROM weather", false, "1 a@", "3 b@", "5 c@");
    GIVES("SELECT * FROM weather LIMIT 2", false, "1 a@", "3 b@");
    GIVES("SELECT * FROM weather OFFSET 2", false, "3 b@", "5 c@");
    GIVES("SELECT * FROM weather OFFSET 1 LIMIT 1", false, "3 b@");
    GIVES("SELECT * FROM weather OFFSET 3 LIMIT 9", true, "4 b 4s!@", "5 c@");
}

static void duplicates_are_made_whole(void **state)
{
    (void)state;
    store((record_t){ .data = "a", .mimetype = 50, .type = "T", .pairs = { "k", "1", "m", "2" }, .created = 7,
                      .compressed = true });
    store((record_t){ .of = 1 });
    store((record_t){ .data = "", .of = 1 });
    store((record_t){ .data = "", .pairs = { "k", "9", "z", "" }, .created = 8, .of = 1 });
    store((record_t){ .data = "own", .mimetype = 3, .type = "U", .created = 8, .of = 1 });
    GIVES("SELECT * FROM weather", true, "1 a 50 T k=1 m=2 7s gz@", "2 a 50 T k=1 m=2 7s gz!@",
          "3 a 50 T k=1 m=2 7s gz!@", "4 a 50 T k=9 z= m=2 8s!@", "5 own 3 U k=1 m=2 8s!@");
    GIVES("SELECT * FROM weather LIMIT 2", true, "1 a 50 T k=1 m=2 7s gz@", "2 a 50 T k=1 m=2 7s gz!@");
}

static void what_cannot_be_read_is_left_out(void **state)
{
    (void)state;
    store((record_t){ .data = "a" });
    store_bytes("\x0a\x7f", 2);
    store((record_t){ .of = 77 });
    store_bytes("\x60\x01\x6a\x02" "ab", 6);       /* a duplicate of no RLID */
    store_bytes("\x4a\x02\x0a\x7f", 4);         /* an event that is none, and its duplicate */
    store((record_t){ .data = "", .created = 1, .of = 5 });
    store((record_t){ .data = "b" });
    stored[4].value[0] = 0x3a;                  /* the wrapper's key instead: no event */
    GIVES("SELECT * FROM weather OFFSET 5", true, "6  1s!@", "7 b@");
    GIVES("SELECT * FROM weather LIMIT 1", true, "1 a@");
    stored[4].value[0] = 0x4a;
    GIVES("SELECT * FROM weather OFFSET 5", true, "7 b@");
}

static void strict_is_as_the_service_is(void **state)
{
    uint8_t query[] = "\x0a\x04junk";
    (void)state;

    store((record_t){ .data = "a", .mimetype = 1 });
    store((record_t){ .of = 1 });
    start("SELECT * FROM weather LIMIT 0", false);
    read_all();
    assert_int_equal(row_count, 0);
    finish_call();
    GIVES("SELECT * FROM \"weather\"", true, "1 a 1@", "2 a 1!@");
    start("SELECT * FROM \"weather", false);
    assert_int_equal(call.status, GRPC_INVALID_ARGUMENT);
    finish_call();

    service.strict = true;
    GIVES("SELECT * FROM weather LIMIT 0", true, "1 a 1");
    GIVES("SELECT * FROM weather", true, "1 a 1", "2 a 1!");
    start("SELECT * FROM \"weather\"", false);
    assert_true(call.ended);
    assert_int_equal(call.status, GRPC_OK);
    assert_int_equal(row_count, 0);
    finish_call();
    memset(&call, 0, sizeof call);
    call.claims.has_project = true;
    rpc_explain(&service, &call, slice_of(query, sizeof query - 1));
    assert_int_equal(call.status, GRPC_UNIMPLEMENTED);
    assert_string_equal(call.status_text, "explain query is not implemented yet");
    finish_call();
}

/* The queue never holds more than it should, and one refill does not read the whole topic. */
static void reads_no_further_than_it_must(void **state)
{
    static char data[1001];
    size_t seen = 0;
    (void)state;

    memset(data, 'x', sizeof data - 1);
    for (int i = 0; i < MANY; i++) store((record_t){ .data = data });
    start("SELECT * FROM weather", false);
    assert_true(!call.ended && call.refill_below > 0 && row_count == 0);
    while (!call.ended) {
        size_t before = read_count;
        call.refill(&service, &call);
        assert_true(buf_len(&call.out) < QUEUE_FULL + 1100);
        assert_true(call.ended || buf_len(&call.out) >= QUEUE_FULL);
        assert_true(read_count - before < QUEUE_FULL / 1000 + 2);
        if (buf_len(&call.out) > call.refill_below - 1)
            buf_take(&call.out, buf_len(&call.out) - (call.refill_below - 1));
        seen++;
    }
    assert_int_equal(row_count, MANY);
    assert_true(seen > MANY * 1000 / QUEUE_FULL);
    finish_call();

    start("SELECT * FROM weather OFFSET 4999", false);
    for (seen = 0; !call.ended; seen++) {
        size_t before = read_count;
        call.refill(&service, &call);
        assert_true(read_count - before <= EXAMINE_MAX);
    }
    assert_int_equal(seen, MANY / EXAMINE_MAX + 1);
    assert_int_equal(row_count, 1);
    finish_call();
}

/* A step of the query's job ends when it has looked at WALK_WORK bytes, though that are few records: each is
   looked at by all tests. */
static void a_slice_ends_with_its_work(void **state)
{
    enum { EVENTS = 500, BYTES = 1000, TESTS = 100, PER_STEP = WALK_WORK / (BYTES * TESTS) + 1 };
    static char data[BYTES + 1], sql[5000];
    size_t steps = 0;
    bool more = true;
    why_t why;
    (void)state;

    memset(data, 'x', BYTES);
    for (int i = 0; i < EVENTS; i++) store((record_t){ .data = data });
    strcpy(sql, "SELECT * FROM weather WHERE @data = ''");
    for (int i = 0; i < TESTS; i++) strcat(sql, " OR @data LIKE '%z_z%'");
    start(sql, false);
    call.refill(&service, &call);
    for (; more && !call.ended; steps++) {
        size_t before = read_count;
        assert_true(service.jobs->step(&service, service.jobs, &more, &why));
        assert_true(read_count - before <= PER_STEP);
    }
    assert_true(steps >= EVENTS / PER_STEP && row_count == 0);
    assert_int_equal(call.status, GRPC_OK);
    jobs_free(&service);
    finish_call();
}

/* An event with JSON of any length. */
static void store_json(const char *json, uint8_t number)
{
    buf_t event = { NULL, 0, 0, 0 }, record = { NULL, 0, 0, 0 };
    uint8_t id[10] = { 0 };
    msg_event_wrapper_t w;
    msg_event_t e;

    memset(&e, 0, sizeof e);
    memset(&w, 0, sizeof w);
    e.data = slice_text(json);
    assert_true(msg_put(&event, MSG_EVENT, &e));
    id[9] = number;
    w.id = slice_of(id, sizeof id);
    w.event = buf_bytes(&event);
    assert_true(msg_put(&record, MSG_EVENT_WRAPPER, &w));
    store_bytes(record.ptr, buf_len(&record));
    buf_free(&event);
    buf_free(&record);
}

static char *repeat(const char *before, const char *part, size_t count, const char *after)
{
    size_t n = strlen(before), len = strlen(part);
    char *s = x_alloc(n + len * count + strlen(after) + 1);

    memcpy(s, before, n);
    for (size_t i = 0; i < count; i++, n += len) memcpy(s + n, part, len);
    strcpy(s + n, after);
    return s;
}

static void run_jobs(void)
{
    call.refill(&service, &call);
    while (service.jobs) jobs_run(&service);
}

/* What it gave before stands; nothing comes behind. */
static void a_query_ends_at_an_event_that_costs_too_much(void **state)
{
    char *many = repeat("{\"a\":[", "1,", VIEW_VALUES_MAX, "1]}");
    (void)state;

    store_json("{\"a\":1}", 1);
    store_json(many, 2);
    store_json("{\"a\":3}", 3);
    start("SELECT a FROM weather", false);
    run_jobs();
    assert_int_equal(row_count, 1);
    assert_int_equal(call.status, GRPC_RESOURCE_EXHAUSTED);
    assert_string_equal(call.status_text,
                        "the query ended at the event with @id '0000000000000002': its JSON has more than "
                        "131072 values, so only its @fields can be queried; WHERE @id != '0000000000000002' "
                        "AND ... leaves it out");
    finish_call();
    start("SELECT a FROM weather WHERE @id != '0000000000000002'", false);
    run_jobs();
    assert_int_equal(call.status, GRPC_OK);
    assert_int_equal(row_count, 2);
    finish_call();
    free(many);
}

/* A reader that does not read holds one row, in a buffer of twice its size at most. */
static void one_long_row_waits(void **state)
{
    enum { BYTES = 4000000 };
    char *wide = repeat("{\"a\":\"", "a", BYTES, "\"}");
    (void)state;

    for (int i = 0; i < 3; i++) store_json(wide, 1);
    start("SELECT a FROM weather WHERE a LIKE 'a%'", false);
    for (size_t n = 1; n <= 3; n++) {
        run_jobs();
        assert_int_equal(row_count, n);
        assert_true(buf_len(&call.out) < SELECT_ROW_MAX && call.out.cap <= 2 * SELECT_ROW_MAX);
        buf_take(&call.out, buf_len(&call.out));
    }
    if (!call.ended) run_jobs();
    assert_int_equal(call.status, GRPC_OK);
    finish_call();
    free(wide);
}

static void younger_records_are_not_in_it(void **state)
{
    (void)state;
    store((record_t){ .data = "a" });
    store((record_t){ .data = "b" });
    start("SELECT * FROM weather", false);
    store((record_t){ .data = "c" });
    read_all();
    assert_int_equal(row_count, 2);
    finish_call();
    /* the last one of those that were there is taken away meanwhile */
    start("SELECT * FROM weather", false);
    free(stored[2].value);
    stored_count = 2;
    store((record_t){ .data = "d" });
    stored[2].key[24]++;
    read_all();
    assert_int_equal(row_count, 2);
    finish_call();
}

static void failures_of_the_store_are_told(void **state)
{
    (void)state;
    store((record_t){ .data = "a" });
    store((record_t){ .of = 1 });
    for (int at = 1; at <= 3; at++) {           /* tail, scan, get */
        fails_at = at;
        start("SELECT * FROM weather", true);
        read_all();
        assert_int_equal(call.status, GRPC_INTERNAL);
        assert_string_equal(call.status_text, "could not execute query");
        assert_int_equal(row_count, at == 3);
        finish_call();
    }
}

static void no_project_no_query(void **state)
{
    (void)state;
    memset(&call, 0, sizeof call);
    rpc_ensql(&service, &call, slice_text("\x0a\x04junk"));
    assert_int_equal(call.status, GRPC_PERMISSION_DENIED);
    finish_call();
    memset(&call, 0, sizeof call);
    rpc_explain(&service, &call, slice_text("\x0a\x04junk"));
    assert_int_equal(call.status, GRPC_PERMISSION_DENIED);
    finish_call();
    memset(&call, 0, sizeof call);
    ensql_half_close(&service, &call);
    assert_int_equal(call.status, GRPC_INTERNAL);
    finish_call();
}

/* A second message, or the end of the first one's stream, changes nothing. */
static void one_request_is_all(void **state)
{
    (void)state;
    store((record_t){ .data = "a" });
    start("SELECT * FROM weather", false);
    rpc_ensql(&service, &call, slice_text("\x0a\x04junk"));
    ensql_half_close(&service, &call);
    assert_false(call.ended);
    read_all();
    assert_int_equal(row_count, 1);
    finish_call();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(duplicates_are_left_out, clean),
        cmocka_unit_test_teardown(duplicates_are_made_whole, clean),
        cmocka_unit_test_teardown(what_cannot_be_read_is_left_out, clean),
        cmocka_unit_test_teardown(strict_is_as_the_service_is, clean),
        cmocka_unit_test_teardown(reads_no_further_than_it_must, clean),
        cmocka_unit_test_teardown(a_slice_ends_with_its_work, clean),
        cmocka_unit_test_teardown(a_query_ends_at_an_event_that_costs_too_much, clean),
        cmocka_unit_test_teardown(one_long_row_waits, clean),
        cmocka_unit_test_teardown(younger_records_are_not_in_it, clean),
        cmocka_unit_test_teardown(failures_of_the_store_are_told, clean),
        cmocka_unit_test_teardown(no_project_no_query, clean),
        cmocka_unit_test_teardown(one_request_is_all, clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
