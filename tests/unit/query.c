/* query.c - the development server's queries over a store of the test's own: duplicates, the real service's
 * oddities, what is read ahead, failures; and duplicates made whole */
#include "../../tools/ensignd/query.c"
#include "../../tools/ensignd/reply.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

enum { RECORDS = 6000, ROWS_SHOWN = 16, MANY = 5000 };

/* ------------------------------------------------------------------ a log, and a call */
typedef struct stored_t { log_event_t event; uint8_t *value; } stored_t;

static stored_t stored[RECORDS];        /* offsets from 1 on; one that is gone has another topic */
static size_t stored_count, read_count; /* events that were given out */
static int fails_at;                    /* the read that fails, counted down to 0 */
static log_read_t *asked;               /* without an answer yet */
static topic_t weather = { .name = (char *)(uintptr_t)"weather", .project = { { 1 } }, .id = { { 2 } } };
static topics_t topics;
static service_t service = { .topics = &topics };
static call_t call;
static char rows[ROWS_SHOWN][64];       /* as `row_text` has them */
static size_t row_count;

uint64_t log_last(const log_t *l, const ulid_t *project)
{
    (void)l;
    assert_true(ulid_eq(project, &weather.project));
    return stored_count;
}

uint64_t log_epoch(const log_t *l, const ulid_t *project)
{
    (void)l, (void)project;
    return 7;
}

void log_read(log_t *l, log_read_t *r)
{
    (void)l;
    assert_null(asked);
    assert_true(r->topic_count == 1 && ulid_eq(r->topics, &weather.id));
    asked = r;
}

void log_cancel(log_t *l, log_request_t *r)
{
    (void)l;
    assert_ptr_equal(asked, r);
    asked = NULL;
}

static bool is_wanted(const log_read_t *r, const log_event_t *e)
{
    if (!ulid_eq(&e->topic, &weather.id) || e->offset > r->until) return false;
    return r->by_id ? memcmp(e->id.b, r->id.b, sizeof r->id.b) >= 0 : e->offset > r->after;
}

static void answer_read(log_read_t *r)
{
    log_event_t *given = x_alloc((stored_count + 1) * sizeof *given);
    size_t bytes = 0, i = 0;

    r->base.result = fails_at > 0 && --fails_at == 0 ? LOG_FAILED : LOG_OK;
    r->base.why.text[0] = '\0';
    r->count = 0;
    for (; i < stored_count && r->count < r->most_events && (!r->most_bytes || bytes < r->most_bytes); i++) {
        if (!is_wanted(r, &stored[i].event)) continue;
        bytes += stored[i].event.value.len;
        given[r->count++] = stored[i].event;
    }
    r->events = given;
    r->reached = i;
    r->end = i == stored_count || i >= r->until;
    read_count += r->count;
    r->base.done(&r->base);
    free(given);
}

/* The loop, until nobody has anything to do. */
static void run_jobs(void)
{
    while (asked || service.jobs) {
        log_read_t *r = asked;
        asked = NULL;
        if (r) answer_read(r);
        jobs_run(&service);
    }
}

bool topic_is_gone(const topic_t *t)
{
    return ulid_is_zero(&t->project);
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
   says when it was committed, at which place and in which epoch. */
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
    assert_int_equal(w.has_committed, w.offset == w.id.ptr[9] + 256u * w.id.ptr[8]);
    assert_int_equal(w.epoch, w.has_committed ? 7 : 0);
    if (w.has_committed) print_to(out, cap, "@");
}

/* No Explain is asked here. */
job_result_t numbers_count(service_t *s, topic_t *t, uint64_t until, job_t *waiter)
{
    (void)s, (void)t, (void)until, (void)waiter;
    return JOB_FAILED;
}

uint64_t numbers_events(service_t *s, const topic_t *t)
{
    (void)s, (void)t;
    return 0;
}

uint8_t *call_message_room(call_t *c, size_t message_len)
{
    return buf_room(&c->out, message_len);
}

void call_message_sent(call_t *c, size_t message_len)
{
    ensign_slice_t message = slice_of(c->out.ptr + c->out.end, message_len);

    if (message.len && row_count < ROWS_SHOWN) row_text(message, rows[row_count], sizeof rows[0]);
    row_count++;
    c->out.end += message_len;
}

void call_send(call_t *c, ensign_slice_t message)
{
    uint8_t *p = call_message_room(c, message.len);
    if (message.len) memcpy(p, message.ptr, message.len);
    call_message_sent(c, message.len);
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

/* As a wrapper. */
static size_t encode_record(const record_t *r, uint8_t *out, size_t cap)
{
    uint8_t event[1200], pairs[200], of[10] = { 0 };
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
    w.event.ptr = event;
    w.event.len = r->data ? len : 0;
    w.has_compression = r->compressed;
    w.compression.level = 9;
    of[9] = r->of;
    w.is_duplicate = r->of != 0;
    w.duplicate_id.ptr = of;
    w.duplicate_id.len = r->of ? sizeof of : 0;
    assert_true(msg_encode(MSG_EVENT_WRAPPER, &w, out, cap, &len));
    return len;
}

static void store_bytes(const void *value, size_t len)
{
    stored_t *r = &stored[stored_count++];

    assert_true(stored_count <= RECORDS);
    r->value = x_alloc(len);
    memcpy(r->value, value, len);
    r->event.offset = stored_count;
    r->event.topic = weather.id;
    r->event.id = rlid_make(0, (uint32_t)stored_count);
    r->event.committed.seconds = 5;
    r->event.value = slice_of(r->value, len);
}

static void store(record_t r)
{
    uint8_t bytes[1500];
    store_bytes(bytes, encode_record(&r, bytes, sizeof bytes));
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
        run_jobs();
    }
}

static void finish_call(void)
{
    ensql_closed(&service, &call);
    run_jobs();
    assert_null(call.state);
    assert_null(service.waiting);
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

/* The queue never holds more than it should, and what is read is what it has room for. */
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
        assert_int_equal(call.refill_below, 0);
        run_jobs();
        assert_true(buf_len(&call.out) < QUEUE_FULL + 1100);
        assert_true(call.ended || buf_len(&call.out) >= QUEUE_FULL);
        assert_true(read_count - before < QUEUE_FULL / 1000 + 2);
        if (!call.ended && buf_len(&call.out) > call.refill_below - 1)
            buf_take(&call.out, buf_len(&call.out) - (call.refill_below - 1));
        seen++;
    }
    assert_int_equal(row_count, MANY);
    assert_true(seen > MANY * 1000 / QUEUE_FULL);
    finish_call();

    start("SELECT * FROM weather OFFSET 4999", false);
    call.refill(&service, &call);
    for (seen = 0; asked || service.jobs; seen++) {
        log_read_t *r = asked;
        size_t before = read_count;
        asked = NULL;
        if (r) answer_read(r);
        assert_true(read_count - before <= EXAMINE_MAX);
        if (service.jobs) jobs_run(&service);
    }
    assert_true(seen >= MANY / EXAMINE_MAX);
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
    job_t *job;
    (void)state;

    memset(data, 'x', BYTES);
    for (int i = 0; i < EVENTS; i++) store((record_t){ .data = data });
    strcpy(sql, "SELECT * FROM weather WHERE @data = ''");
    for (int i = 0; i < TESTS; i++) strcat(sql, " OR @data LIKE '%z_z%'");
    start(sql, false);
    call.refill(&service, &call);
    job = service.jobs;
    for (; !call.ended; steps++) {
        job_result_t result = job->step(&service, job);
        assert_true(((cursor_t *)job)->examined <= PER_STEP);
        if (result == JOB_WAIT) {
            log_read_t *r = asked;
            asked = NULL;
            answer_read(r);
        }
    }
    assert_true(steps >= EVENTS / PER_STEP && row_count == 0);
    assert_int_equal(call.status, GRPC_OK);
    jobs_free(&service);
    finish_call();
}

/* An event with JSON of any length. */
static void store_json(const char *json)
{
    buf_t event = { NULL, 0, 0, 0 }, record = { NULL, 0, 0, 0 };
    msg_event_wrapper_t w;
    msg_event_t e;

    memset(&e, 0, sizeof e);
    memset(&w, 0, sizeof w);
    e.data = slice_text(json);
    assert_true(msg_put(&event, MSG_EVENT, &e));
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

static void refill_all(void)
{
    call.refill(&service, &call);
    run_jobs();
}

/* What it gave before stands; nothing comes behind. */
static void a_query_ends_at_an_event_that_costs_too_much(void **state)
{
    char *many = repeat("{\"a\":[", "1,", VIEW_VALUES_MAX, "1]}");
    (void)state;

    store_json("{\"a\":1}");
    store_json(many);
    store_json("{\"a\":3}");
    start("SELECT a FROM weather", false);
    refill_all();
    assert_int_equal(row_count, 1);
    assert_int_equal(call.status, GRPC_RESOURCE_EXHAUSTED);
    assert_string_equal(call.status_text,
                        "the query ended at the event with @id '0000000000000002': its JSON has more than "
                        "131072 values, so only its @fields can be queried; WHERE @id != '0000000000000002' "
                        "AND ... leaves it out");
    finish_call();
    start("SELECT a FROM weather WHERE @id != '0000000000000002'", false);
    refill_all();
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

    for (int i = 0; i < 3; i++) store_json(wide);
    start("SELECT a FROM weather WHERE a LIKE 'a%'", false);
    for (size_t n = 1; n <= 3; n++) {
        refill_all();
        assert_int_equal(row_count, n);
        assert_true(buf_len(&call.out) < SELECT_ROW_MAX && call.out.cap <= 2 * SELECT_ROW_MAX);
        buf_take(&call.out, buf_len(&call.out));
    }
    if (!call.ended) refill_all();
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
    stored[2].event.topic.b[0]++;
    store((record_t){ .data = "d" });
    read_all();
    assert_int_equal(row_count, 2);
    finish_call();
}

static void failures_of_the_log_are_told(void **state)
{
    (void)state;
    store((record_t){ .data = "a" });
    store((record_t){ .of = 1 });
    for (int at = 1; at <= 3; at++) {           /* two pages, and an original that stands in none */
        fails_at = at;
        start("SELECT * FROM weather OFFSET 1", true);
        read_all();
        assert_int_equal(call.status, GRPC_INTERNAL);
        assert_string_equal(call.status_text, "could not execute query");
        assert_int_equal(row_count, 0);
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
    wait_half_close(&service, &call);
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
    wait_half_close(&service, &call);
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
        cmocka_unit_test_teardown(failures_of_the_log_are_told, clean),
        cmocka_unit_test_teardown(no_project_no_query, clean),
        cmocka_unit_test_teardown(one_request_is_all, clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
