/* Queries: rows in order, then one END; what is not pulled stays at the server. */
#include "service.h"

static ensign_query_desc_t everything(void)
{
    ensign_query_desc_t d;
    memset(&d, 0, sizeof d);
    d.sql = "SELECT * FROM weather";
    return d;
}

static uint32_t query(world_t *w, const ensign_query_desc_t *d)
{
    ensign_query_t q = ensign_query_open(w->client, d);
    if (!q.id) world_fail(w, "ensign_query refused a good query");
    return q.id;
}

/* The i-th stream, which must be a query's; its request is in *m, if that is wanted. */
static stream_t *asked(world_t *w, size_t i, ensign_slice_t *m)
{
    stream_t *s = world_stream(w, i);
    ensign_slice_t bytes = world_request(w, s);
    assert_string_equal(peer_field(s, ":path"), "/ensign.v1beta1.Ensign/EnSQL");
    world_until(w, s->half_closed);
    if (m) *m = bytes;
    return s;
}

/* The wrapper around `event`, but for its publisher; frees the event. */
static void wrap(bytes_t *row, uint64_t number, bytes_t *event)
{
    uint8_t id[10] = { 1, 2, 3, 4, 5, 6, 0, 0, 0, 0 };
    id[8] = (uint8_t)(number >> 8);
    id[9] = (uint8_t)number;
    enc_bytes(row, 1, id, 10);
    enc_bytes(row, 2, weather_id, 16);
    enc_message(row, 9, event);
}

static void row(stream_t *s, uint64_t number, const void *data, size_t len)
{
    bytes_t event = {0}, m = {0};
    enc_bytes(&event, 2, data, len);
    wrap(&m, number, &event);
    peer_send(s, &m);
}

static void row_text(stream_t *s, uint64_t number, const char *text)
{
    row(s, number, text, strlen(text));
}

static const ensign_event_t *expect_row(world_t *w, uint32_t q, uint64_t number, const char *text)
{
    const ensign_notice_t *n = world_expect(w, q, ENSIGN_NOTICE_EVENT);
    assert_false(n->last);
    assert_null(n->error);
    assert_int_equal(n->as.event->id.b[8] * 256 + n->as.event->id.b[9], number);
    if (text) assert_text(n->as.event->data, text);
    return n->as.event;
}

static const ensign_notice_t *expect_end(world_t *w, uint32_t q, int code, uint64_t count)
{
    const ensign_notice_t *n = world_expect(w, q, ENSIGN_NOTICE_END);
    assert_true(n->last);
    if ((n->error ? n->error->code : 0) != code)
        world_fail(w, "END with %s instead of %s", n->error ? n->error->text : "no error",
                   ensign_result_name(code));
    if (code <= ENSIGN_E_GRPC && code > ENSIGN_E_CREDENTIALS)
        assert_int_equal(n->as.end.status, ENSIGN_E_GRPC - code);
    if (code == 0) assert_int_equal(n->as.end.status, ENSIGN_GRPC_OK);
    assert_int_equal(n->as.end.count, count);
    return n;
}

/* ------------------------------------------------------------------ rows */
/* All that the service's messages have. */
static void full_row(stream_t *s)
{
    bytes_t e = {0}, who = {0}, inner = {0}, m = {0};
    service_event(&e, "sunny", 5);
    wrap(&m, 0x1234, &e);
    enc_uint(&m, 3, 70);
    enc_uint(&m, 4, 71);
    enc_uint(&m, 5, 1840050);
    service_who(&who);
    enc_message(&m, 6, &who);
    enc_text(&m, 7, "the key");
    enc_uint(&m, 8, 3);
    enc_text(&inner, 1, "key-id");
    enc_uint(&inner, 6, 110);
    enc_message(&m, 10, &inner);
    enc_uint(&inner, 1, 1);
    enc_uint(&inner, 2, 9);
    enc_message(&m, 11, &inner);
    enc_uint(&m, 12, 1);
    enc_bytes(&m, 13, "original-1", 10);
    enc_time(&m, 15, 1600000001, 8);
    peer_send(s, &m);
}

static void check_full_row(const ensign_event_t *e)
{
    ensign_slice_t value;
    assert_text(e->data, "sunny");
    assert_memory_equal(e->id.b, "\1\2\3\4\5\6\0\0\x12\x34", 10);
    assert_memory_equal(e->topic_id.b, weather_id, 16);
    assert_int_equal(e->mimetype, ENSIGN_MIME_APPLICATION_JSON);
    assert_text(e->type.name, "Report");
    assert_int_equal(e->type.major, 1);
    assert_int_equal(e->type.minor, 2);
    assert_int_equal(e->type.patch, 3);
    assert_true(ensign_metadata_get(e, "key", &value));
    assert_text(value, "value");
    assert_int_equal(e->created.seconds, 1600000000);
    assert_int_equal(e->created.nanos, 7);
    assert_int_equal(e->committed.seconds, 1600000001);
    assert_int_equal(e->committed.nanos, 8);
    assert_int_equal(e->offset, 70);
    assert_int_equal(e->epoch, 71);
    assert_text(e->publisher_id, "publisher");
    assert_text(e->publisher_address, "1.2.3.4:5");
    assert_text(e->publisher_client_id, "client");
    assert_text(e->publisher_agent, "agent");
    assert_text(e->key, "the key");
    assert_slice(e->encryption, "\x0a\x06key-id\x30\x6e", 10);
    assert_slice(e->compression, "\x08\x01\x10\x09", 4);
    assert_memory_equal(e->duplicate_of.b, "original-1", 10);
    assert_int_equal(e->token, 0);
}

SCRIPT(all_fields_of_a_row)
{
    ensign_query_desc_t d = everything();
    const ensign_notice_t *n;
    stream_t *s;
    int mark = 0;
    uint32_t q;
    d.user = &mark;
    world_create(w);
    q = query(w, &d);
    s = asked(w, 0, NULL);
    full_row(s);
    n = world_expect(w, q, ENSIGN_NOTICE_EVENT);
    assert_ptr_equal(n->user, &mark);
    check_full_row(n->as.event);
    row_text(s, 2, "another");
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    world_pass(w, 1000);
    check_full_row(n->as.event);        /* it stands until the next pull */
    expect_row(w, q, 2, "another");
    n = world_expect(w, q, ENSIGN_NOTICE_END);
    assert_ptr_equal(n->user, &mark);
}

SCRIPT(rows_then_one_end)
{
    ensign_query_desc_t d = everything();
    ensign_slice_t m;
    stream_t *s;
    uint32_t q;
    int i;
    world_create_with_key(w);
    q = query(w, &d);
    s = asked(w, 0, &m);
    assert_slice(m, "\x0a\x15SELECT * FROM weather", 23);
    assert_non_null(peer_field(s, "authorization"));
    for (i = 0; i < 50; i++) row_text(s, (uint64_t)i, "x");
    peer_finish(s, 0, NULL, NULL);
    for (i = 0; i < 50; i++) expect_row(w, q, (uint64_t)i, "x");
    assert_true(expect_end(w, q, 0, 50)->as.end.from_server);
    world_hear(w);
    assert_null(world_pull(w, 0));
    assert_int_equal(ensign_hold(w->client, q, true), ENSIGN_E_HANDLE);
    world_pass(w, 60000);
    assert_int_equal(w->stream_count, 1);
}

SCRIPT(no_row_is_an_answer)
{
    ensign_query_desc_t d = everything();
    uint32_t q;
    world_create(w);
    q = query(w, &d);
    peer_finish(asked(w, 0, NULL), 0, NULL, NULL);
    expect_end(w, q, 0, 0);
    q = query(w, &d);
    peer_only(asked(w, 1, NULL), "200", "content-type", "application/grpc", "grpc-status", "0", NULL);
    expect_end(w, q, 0, 0);
}

SCRIPT(the_name_of_a_row_s_topic)
{
    ensign_query_desc_t d = everything();
    bytes_t m = {0};
    ensign_request_t r;
    stream_t *s;
    uint32_t q;
    world_create(w);
    q = query(w, &d);
    s = asked(w, 0, NULL);
    row_text(s, 1, "one");
    assert_int_equal(expect_row(w, q, 1, "one")->topic_name.len, 0);
    assert_int_equal(ensign_forget(w->client, q), ENSIGN_OK);
    r = ensign_topic_by_id(w->client, (ensign_ulid_t){ { 0 } }, NULL);
    s = world_stream(w, 1);
    world_request(w, s);
    service_topic(&m, 0, "weather", weather_id);
    peer_send(s, &m);
    peer_finish(s, 0, NULL, NULL);
    world_expect(w, r.id, ENSIGN_NOTICE_TOPIC);
    q = query(w, &d);
    s = asked(w, 2, NULL);
    row_text(s, 2, "two");
    assert_text(expect_row(w, q, 2, "two")->topic_name, "weather");
}

/* ------------------------------------------------------------------ what is asked */
typedef struct seen_t {
    ensign_slice_t name, bytes;
    unsigned values;
    uint32_t tag;
    uint64_t number;
} seen_t;

static uint64_t little_endian(dec_t *d)
{
    uint64_t v = 0;
    int i;
    assert_true(d->end - d->p >= 8);
    for (i = 0; i < 8; i++) v |= (uint64_t)*d->p++ << (8 * i);
    return v;
}

static seen_t read_param(ensign_slice_t m)
{
    dec_t d = dec_begin(m);
    seen_t x;
    memset(&x, 0, sizeof x);
    while (d.p < d.end) {
        uint64_t key = dec_varint(&d), v = (key & 7) == 1 ? little_endian(&d) : dec_varint(&d);
        const uint8_t *p = d.p;
        if ((key & 7) == 2) {
            assert_true(v <= (uint64_t)(d.end - d.p));
            d.p += v;
        }
        if (key >> 3 == 6) {
            x.name = slice_of(p, (size_t)v);
            continue;
        }
        x.bytes = slice_of(p, (size_t)(d.p - p));
        x.values++;
        x.tag = (uint32_t)(key >> 3);
        x.number = v;
    }
    return x;
}

SCRIPT(params_of_each_type)
{
    static const ensign_param_t params[] = {
        { "i0", ENSIGN_PARAM_INT, { .i = 0 } },
        { "i1", ENSIGN_PARAM_INT, { .i = -1 } },
        { "i2", ENSIGN_PARAM_INT, { .i = 300 } },
        { "i3", ENSIGN_PARAM_INT, { .i = INT64_MIN } },
        { "i4", ENSIGN_PARAM_INT, { .i = INT64_MAX } },
        { "d0", ENSIGN_PARAM_DOUBLE, { .d = 0.0 } },
        { "d1", ENSIGN_PARAM_DOUBLE, { .d = -1.5 } },
        { "b0", ENSIGN_PARAM_BOOL, { .b = false } },
        { "b1", ENSIGN_PARAM_BOOL, { .b = true } },
        { "y0", ENSIGN_PARAM_BYTES, { .bytes = { NULL, 0 } } },
        { "y1", ENSIGN_PARAM_BYTES, { .bytes = { (const uint8_t *)"\0\xff", 2 } } },
        { "s0", ENSIGN_PARAM_STRING, { .s = "" } },
        { "s1", ENSIGN_PARAM_STRING, { .s = "text" } },
    };
    static const struct { uint32_t tag; uint64_t number; const char *bytes; } want[] = {
        { 1, 0, NULL },
        { 1, 1, NULL },
        { 1, 600, NULL },
        { 1, UINT64_MAX, NULL },
        { 1, UINT64_MAX - 1, NULL },
        { 2, 0, NULL },
        { 2, 0xBFF8000000000000u, NULL },
        { 3, 0, NULL },
        { 3, 1, NULL },
        { 4, 0, "" },
        { 4, 2, "\0\xff" },
        { 5, 0, "" },
        { 5, 4, "text" },
    };
    ensign_query_desc_t d = everything();
    ensign_slice_t m;
    dec_t at;
    size_t i = 0;
    world_create(w);
    d.params = params;
    d.param_count = COUNT(params);
    query(w, &d);
    asked(w, 0, &m);
    for (at = dec_begin(m); dec_next(&at);) {
        seen_t x;
        if (at.tag != 2) continue;
        assert_true(i < COUNT(params));
        x = read_param(at.bytes);
        assert_int_equal(x.values, 1);
        assert_text(x.name, params[i].name);
        assert_int_equal(x.tag, want[i].tag);
        assert_true(x.number == want[i].number);
        if (want[i].bytes && want[i].number)
            assert_memory_equal(x.bytes.ptr, want[i].bytes, (size_t)want[i].number);
        i++;
    }
    assert_int_equal(i, COUNT(params));
    assert_int_equal(dec_uint(m, 3), 0);
}

SCRIPT(duplicates_are_asked_for)
{
    ensign_query_desc_t d = everything();
    ensign_slice_t m;
    world_create(w);
    d.include_duplicates = true;
    query(w, &d);
    asked(w, 0, &m);
    assert_int_equal(dec_uint(m, 3), 1);
}

SCRIPT(what_is_given_is_copied)
{
    char sql[] = "SELECT * FROM weather", name[] = "name", text[] = "text";
    ensign_query_desc_t d = everything();
    ensign_param_t p;
    ensign_slice_t m, f;
    world_create(w);
    memset(&p, 0, sizeof p);
    p.name = name;
    p.type = ENSIGN_PARAM_STRING;
    p.as.s = text;
    d.sql = sql;
    d.params = &p;
    d.param_count = 1;
    query(w, &d);
    memset(sql, 'x', sizeof sql);
    memset(name, 'x', sizeof name);
    memset(text, 'x', sizeof text);
    memset(&p, 'x', sizeof p);
    asked(w, 0, &m);
    assert_true(dec_field(m, 1, &f));
    assert_text(f, "SELECT * FROM weather");
    assert_true(dec_field(m, 2, &f));
    assert_text(read_param(f).name, "name");
    assert_text(read_param(f).tag == 5 ? text_slice("text") : text_slice("?"), "text");
}

static void bad(world_t *w, const ensign_query_desc_t *d, int code, const char *word)
{
    const ensign_error_t *e;
    assert_int_equal(ensign_query_open(w->client, d).id, 0);
    e = ensign_error(w->client);
    assert_int_equal(e->code, code);
    if (!strstr(e->text, word)) world_fail(w, "no \"%s\" in: %s", word, e->text);
}

SCRIPT(bad_descs)
{
    static char large[4 * 1024 * 1024 + 1];
    ensign_query_desc_t d = everything();
    ensign_param_t p;
    memset(&p, 0, sizeof p);
    memset(large, 'x', sizeof large - 1);
    w->desc.max_handles = 1;
    world_create(w);
    d.sql = NULL;
    bad(w, &d, ENSIGN_E_ARGUMENT, "sql");
    d.sql = "";
    bad(w, &d, ENSIGN_E_ARGUMENT, "sql");
    d.sql = large;
    bad(w, &d, ENSIGN_E_TOO_LARGE, "4194");
    d = everything();
    d.window_bytes = 1023;
    bad(w, &d, ENSIGN_E_ARGUMENT, "1023");
    d.window_bytes = (1u << 30) + 1;
    bad(w, &d, ENSIGN_E_ARGUMENT, "1073741825");
    d = everything();
    d.max_event_bytes = 1;
    bad(w, &d, ENSIGN_E_ARGUMENT, "max_event_bytes");
    d = everything();
    d.params = &p;
    d.param_count = 1;
    p.name = "a";
    bad(w, &d, ENSIGN_E_ARGUMENT, "type");
    p.type = 6;
    bad(w, &d, ENSIGN_E_ARGUMENT, "6");
    p.type = ENSIGN_PARAM_STRING;
    p.as.s = large;
    bad(w, &d, ENSIGN_E_TOO_LARGE, "4194");
    d = everything();
    query(w, &d);
    bad(w, &d, ENSIGN_E_LIMIT, "max_handles");
    asked(w, 0, NULL);
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 0), ENSIGN_OK);
    bad(w, &d, ENSIGN_E_STATE, "clos");
    world_settle(w);
    assert_int_equal(w->stream_count, 1);
}

/* ------------------------------------------------------------------ the server says no */
SCRIPT(syntax_errors_have_the_server_s_words)
{
    static const char text[] = "syntax error at position 14 near \"topic\": invalid topic identifier";
    ensign_query_desc_t d = everything();
    const ensign_notice_t *n;
    uint32_t q;
    world_create(w);
    q = query(w, &d);
    peer_refuse(asked(w, 0, NULL), ENSIGN_GRPC_INVALID_ARGUMENT, text);
    n = expect_end(w, q, ENSIGN_E_INVALID_ARGUMENT, 0);
    assert_text(n->as.end.text, text);
    assert_true(n->as.end.from_server);
    assert_non_null(strstr(n->error->text, text));
    world_pass(w, 60000);
    assert_int_equal(w->stream_count, 1);
}

SCRIPT(an_error_behind_rows)
{
    ensign_query_desc_t d = everything();
    stream_t *s;
    uint32_t q;
    world_create(w);
    q = query(w, &d);
    s = asked(w, 0, NULL);
    row_text(s, 1, "one");
    row_text(s, 2, "two");
    peer_finish(s, ENSIGN_GRPC_INTERNAL, "could not execute query", NULL);
    expect_row(w, q, 1, "one");
    expect_row(w, q, 2, "two");
    assert_text(expect_end(w, q, ENSIGN_E_INTERNAL, 2)->as.end.text, "could not execute query");
}

SCRIPT(a_token_that_is_not_accepted)
{
    char first[600];
    ensign_query_desc_t d = everything();
    stream_t *s;
    uint32_t q;
    world_create_with_key(w);
    q = query(w, &d);
    s = asked(w, 0, NULL);
    snprintf(first, sizeof first, "%s", peer_field(s, "authorization"));
    peer_refuse(s, ENSIGN_GRPC_UNAUTHENTICATED, "invalid credentials");
    s = asked(w, 1, NULL);
    assert_string_not_equal(peer_field(s, "authorization"), first);
    row_text(s, 1, "one");
    peer_finish(s, 0, NULL, NULL);
    expect_row(w, q, 1, "one");
    expect_end(w, q, 0, 1);
    q = query(w, &d);
    peer_refuse(asked(w, 2, NULL), ENSIGN_GRPC_UNAUTHENTICATED, "invalid credentials");
    peer_refuse(asked(w, 3, NULL), ENSIGN_GRPC_UNAUTHENTICATED, "still invalid");
    assert_text(expect_end(w, q, ENSIGN_E_UNAUTHENTICATED, 0)->as.end.text, "still invalid");
    world_pass(w, 60000);
    assert_int_equal(w->stream_count, 4);
}

/* Behind rows it is not asked again: they would come twice. */
SCRIPT(a_token_that_runs_out_among_rows)
{
    ensign_query_desc_t d = everything();
    stream_t *s;
    uint32_t q;
    world_create_with_key(w);
    q = query(w, &d);
    s = asked(w, 0, NULL);
    row_text(s, 1, "one");
    peer_finish(s, ENSIGN_GRPC_UNAUTHENTICATED, "expired", NULL);
    expect_row(w, q, 1, "one");
    expect_end(w, q, ENSIGN_E_UNAUTHENTICATED, 1);
    world_pass(w, 60000);
    assert_int_equal(w->stream_count, 1);
}

SCRIPT(each_status_has_its_error)
{
    static const char *const names[] = {
        NULL, "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
        "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
        "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
    };
    ensign_query_desc_t d = everything();
    int status;
    world_create(w);
    for (status = 1; status <= 16; status++) {
        char name[64], text[64];
        const ensign_notice_t *n;
        size_t before = w->stream_count;
        uint32_t q = query(w, &d);
        snprintf(text, sizeof text, "words of %d", status);
        peer_refuse(asked(w, before, NULL), status, text);
        if (status == ENSIGN_GRPC_UNAUTHENTICATED) {
            world_settle(w);
            if (w->stream_count > before + 1) peer_refuse(asked(w, before + 1, NULL), status, text);
        }
        n = expect_end(w, q, ENSIGN_E_GRPC - status, 0);
        assert_text(n->as.end.text, text);
        snprintf(name, sizeof name, "ENSIGN_E_%s", names[status]);
        assert_string_equal(ensign_result_name(n->error->code), name);
        assert_non_null(strstr(n->error->text, text));
    }
}

/* ------------------------------------------------------------------ rows that are none, or too large */
SCRIPT(a_row_that_is_no_event_is_a_gap)
{
    static const struct { const char *p; size_t n; } bad_rows[] = {
        { "\xff", 1 }, { "\x0a\x7f", 2 }, { "\x4a\x03\x12\x7f" "a", 5 },
    };
    ensign_query_desc_t d = everything();
    const ensign_notice_t *n;
    ensign_stats_t stats;
    stream_t *s;
    size_t i;
    uint32_t q;
    world_create(w);
    q = query(w, &d);
    s = asked(w, 0, NULL);
    for (i = 0; i < COUNT(bad_rows); i++) {
        row_text(s, i, "good");
        peer_message(s, bad_rows[i].p, bad_rows[i].n);
    }
    row_text(s, i, "last");
    peer_finish(s, 0, NULL, NULL);
    for (i = 0; i < COUNT(bad_rows); i++) {
        expect_row(w, q, i, "good");
        n = world_expect(w, q, ENSIGN_NOTICE_GAP);
        assert_false(n->last);
        assert_non_null(n->error);
        assert_int_equal(n->error->code, ENSIGN_E_FORMAT);
        assert_true(n->as.gap.times >= 1);
    }
    expect_row(w, q, i, "last");
    assert_int_equal(ensign_stats(w->client, q, &stats), ENSIGN_OK);
    assert_int_equal(stats.received, COUNT(bad_rows) + 1);
    expect_end(w, q, 0, COUNT(bad_rows) + 1);
}

SCRIPT(a_row_that_is_too_large_ends_it)
{
    static char data[3000];
    ensign_query_desc_t d = everything();
    const ensign_notice_t *n;
    stream_t *s;
    uint32_t q;
    world_create(w);
    d.max_event_bytes = 2048;
    q = query(w, &d);
    s = asked(w, 0, NULL);
    row(s, 1, data, 2048 - 36);         /* just so: the wrapper takes 36 bytes */
    assert_int_equal(s->sizes[0], 2048 + 5);
    row(s, 2, data, 2048 - 35);
    row(s, 3, data, 10);
    expect_row(w, q, 1, NULL);
    n = expect_end(w, q, ENSIGN_E_TOO_LARGE, 1);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(n->error->text, "2049"));
    world_until(w, s->reset || s->closed);
}

SCRIPT(a_row_that_is_compressed_ends_it)
{
    ensign_query_desc_t d = everything();
    stream_t *s;
    uint32_t q;
    world_create(w);
    q = query(w, &d);
    s = asked(w, 0, NULL);
    row_text(s, 1, "one");
    peer_prefix(s, 1, 3);               /* nothing of the kind was agreed on */
    peer_raw(s, "abc", 3);
    expect_row(w, q, 1, "one");
    expect_end(w, q, ENSIGN_E_INTERNAL, 1);
    world_until(w, s->reset || s->closed);
}

/* ------------------------------------------------------------------ the cursor */
SCRIPT(rows_larger_than_the_window)
{
    static const size_t sizes[] = { 0, 1, 100, 5000, 3, 70000, 300000, 10, 1000000 };
    static char data[1000000];
    size_t count = w->mode == BYTE ? 6 : COUNT(sizes), i, bound;
    ensign_query_desc_t d = everything();
    stream_t *s;
    uint32_t q;
    d.window_bytes = 4096;
    d.max_event_bytes = 1100000;
    world_create(w);
    bound = ensign_memory_bound(&w->desc) + ensign_query_memory_bound(&d);
    q = query(w, &d);
    s = asked(w, 0, NULL);
    world_audit(s, q, 4096);
    for (i = 0; i < count; i++) {
        memset(data, (int)i + 'a', sizes[i]);
        row(s, i, data, sizes[i]);
    }
    peer_finish(s, 0, NULL, NULL);
    for (i = 0; i < count; i++) {
        const ensign_event_t *e = expect_row(w, q, i, NULL);
        assert_int_equal(e->data.len, sizes[i]);
        if (sizes[i]) assert_int_equal(e->data.ptr[sizes[i] - 1], (int)i + 'a');
        assert_in_range(w->live, 1, bound);
    }
    expect_end(w, q, 0, count);
    assert_in_range(w->live_peak, 1, bound);
}

SCRIPT(a_held_query_stops_its_server)
{
    static char text[300];
    ensign_query_desc_t d = everything();
    const ensign_notice_t *n;
    stream_t *s;
    uint32_t q;
    size_t i;
    world_create(w);
    d.window_bytes = 4096;
    q = query(w, &d);
    s = asked(w, 0, NULL);
    world_audit(s, q, 4096);
    assert_int_equal(ensign_hold(w->client, q, true), ENSIGN_OK);
    for (i = 0; i < 100; i++) row(s, i, text, sizeof text);
    peer_finish(s, 0, NULL, NULL);
    world_settle(w);
    world_hear(w);
    assert_null(world_pull(w, 0));
    world_pass(w, 100000);
    assert_in_range(s->out_at, 2048, 4096);
    expect_row(w, q, 0, NULL);          /* asked for by its handle it comes all the same */
    assert_int_equal(ensign_hold(w->client, q, false), ENSIGN_OK);
    for (i = 1; i < 100; i++) {
        do n = world_next(w, 0); while (n->handle == ENSIGN_CLIENT);
        assert_int_equal(n->type, ENSIGN_NOTICE_EVENT);
        assert_int_equal(n->as.event->id.b[9], i);
        assert_int_equal(n->as.event->data.len, sizeof text);
    }
    expect_end(w, q, 0, 100);
}

/* Not pulling is enough: the window is the limit. */
SCRIPT(a_reader_that_stops_holds_up_no_other)
{
    static char text[300];
    ensign_query_desc_t d = everything();
    stream_t *s, *t;
    uint32_t slow, fast;
    size_t i;
    world_create(w);
    d.window_bytes = 4096;
    slow = query(w, &d);
    fast = query(w, &d);
    s = asked(w, 0, NULL);
    t = asked(w, 1, NULL);
    world_audit(s, slow, 4096);
    world_audit(t, fast, 4096);
    for (i = 0; i < 200; i++) {
        row(s, i, text, sizeof text);
        row(t, i, text, sizeof text);
    }
    peer_finish(s, 0, NULL, NULL);
    peer_finish(t, 0, NULL, NULL);
    for (i = 0; i < 200; i++) expect_row(w, fast, i, NULL);
    expect_end(w, fast, 0, 200);
    assert_in_range(s->out_at, 1, 4096);
    for (i = 0; i < 200; i++) expect_row(w, slow, i, NULL);
    expect_end(w, slow, 0, 200);
}

SCRIPT(several_queries_at_once)
{
    ensign_query_desc_t d = everything();
    stream_t *s[5];
    uint32_t q[5];
    size_t i, k;
    world_create(w);
    for (i = 0; i < 5; i++) q[i] = query(w, &d);
    for (i = 0; i < 5; i++) s[i] = asked(w, i, NULL);
    for (k = 0; k < 20; k++) {
        for (i = 0; i < 5; i++) row_text(s[i], i * 100 + k, "x");
    }
    for (i = 0; i < 5; i++) peer_finish(s[i], 0, NULL, NULL);
    for (i = 5; i-- > 0;) {
        for (k = 0; k < 20; k++) expect_row(w, q[i], i * 100 + k, "x");
        expect_end(w, q[i], 0, 20);
    }
}

SCRIPT(memory_and_no_allocation_while_rows_flow)
{
    static char text[200];
    ensign_query_desc_t d = everything();
    ensign_stats_t was, is;
    stream_t *s;
    size_t bound, i;
    uint32_t q;
    d.window_bytes = 4096;
    d.max_event_bytes = 4096;
    memset(&was, 0, sizeof was);
    world_create(w);
    bound = ensign_memory_bound(&w->desc) + ensign_query_memory_bound(&d);
    q = query(w, &d);
    s = asked(w, 0, NULL);
    for (i = 0; i < 600; i++) {
        row(s, i, text, sizeof text);
        expect_row(w, q, i, NULL);
        if (i == 300) ensign_stats(w->client, ENSIGN_CLIENT, &was);
    }
    ensign_stats(w->client, ENSIGN_CLIENT, &is);
    assert_int_equal(is.allocations, was.allocations);
    assert_int_equal(is.memory, was.memory);
    assert_int_equal(is.received - was.received, 299);
    assert_in_range(w->live_peak, 1, bound);
}

SCRIPT(large_questions_stay_within_the_bound)
{
    static char text[300000];
    ensign_query_desc_t d = everything();
    ensign_param_t p;
    size_t bound;
    uint32_t q;
    memset(&p, 0, sizeof p);
    memset(text, 'x', sizeof text - 1);
    p.name = "p";
    p.type = ENSIGN_PARAM_STRING;
    p.as.s = text;
    d.sql = text;
    d.params = &p;
    d.param_count = 1;
    world_create_with_key(w);
    bound = ensign_memory_bound(&w->desc) + ensign_query_memory_bound(&d);
    q = query(w, &d);
    peer_refuse(asked(w, 0, NULL), ENSIGN_GRPC_UNAUTHENTICATED, "once more");
    row_text(asked(w, 1, NULL), 1, "one");
    expect_row(w, q, 1, "one");
    assert_in_range(w->live_peak, 1, bound);
}

/* ------------------------------------------------------------------ the end */
SCRIPT(the_time_of_a_query)
{
    ensign_query_desc_t d = everything();
    uint64_t began;
    stream_t *s;
    uint32_t q;
    world_create(w);
    d.timeout_ms = 700;
    q = query(w, &d);
    began = w->now;
    s = asked(w, 0, NULL);
    row_text(s, 1, "one");
    row_text(s, 2, "two");
    expect_row(w, q, 1, "one");
    world_pass(w, 800);                 /* reading takes its time */
    expect_end(w, q, ENSIGN_E_DEADLINE_EXCEEDED, 1);
    world_until(w, s->reset);
    assert_int_equal(s->reset_code, NGHTTP2_CANCEL);
    q = query(w, &d);
    began = w->now;
    asked(w, 1, NULL);
    expect_end(w, q, ENSIGN_E_DEADLINE_EXCEEDED, 0);
    assert_in_range(w->now - began, 700, 710);
    d.timeout_ms = 0;                   /* and without one there is no limit */
    q = query(w, &d);
    s = asked(w, 2, NULL);
    world_pass(w, 3600000);
    row_text(s, 1, "late");
    expect_row(w, q, 1, "late");
}

SCRIPT(forgetting_resets_the_stream)
{
    ensign_query_desc_t d = everything();
    stream_t *s;
    uint32_t q;
    int i;
    world_create(w);
    q = query(w, &d);
    s = asked(w, 0, NULL);
    for (i = 0; i < 10; i++) row_text(s, (uint64_t)i, "x");
    expect_row(w, q, 0, "x");
    expect_row(w, q, 1, "x");
    assert_int_equal(ensign_forget(w->client, q), ENSIGN_OK);
    world_until(w, s->reset);
    assert_int_equal(s->reset_code, NGHTTP2_CANCEL);
    row_text(s, 11, "x");
    world_settle(w);
    world_hear(w);
    assert_null(world_pull(w, 0));
    assert_null(world_pull(w, q));
    q = query(w, &d);                   /* the connection is as good as before */
    row_text(asked(w, 1, NULL), 3, "new");
    expect_row(w, q, 3, "new");
    assert_true(w->streams[1]->conn == s->conn);
}

SCRIPT(a_connection_that_is_lost_among_rows)
{
    static const uint8_t half[] = { 0, 0, 0, 0, 50, 0x0a, 10, 1, 2, 3 };
    ensign_query_desc_t d = everything();
    const ensign_notice_t *n;
    stream_t *s;
    uint32_t q;
    world_create(w);
    q = query(w, &d);
    s = asked(w, 0, NULL);
    row_text(s, 1, "one");
    row_text(s, 2, "two");
    peer_raw(s, half, sizeof half);
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    world_pass(w, 5000);
    expect_row(w, q, 1, "one");
    expect_row(w, q, 2, "two");
    n = world_expect(w, q, ENSIGN_NOTICE_END);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_UNAVAILABLE);
    assert_int_equal(n->as.end.count, 2);
    assert_int_equal(n->error->code, ENSIGN_E_CLOSED);
    assert_int_equal(n->error->native, ECONNRESET);
    assert_false(n->as.end.from_server);
    world_pass(w, 60000);
    assert_int_equal(w->stream_count, 1);
}

/* The trailers must come: rows that just stop may not be all. */
SCRIPT(rows_without_a_status)
{
    ensign_query_desc_t d = everything();
    const ensign_notice_t *n;
    stream_t *s;
    uint32_t q;
    world_create(w);
    q = query(w, &d);
    s = asked(w, 0, NULL);
    row_text(s, 1, "one");
    peer_finish_bare(s);
    expect_row(w, q, 1, "one");
    n = world_expect(w, q, ENSIGN_NOTICE_END);
    assert_int_not_equal(n->as.end.status, ENSIGN_GRPC_OK);
    assert_non_null(n->error);
    q = query(w, &d);
    s = asked(w, 1, NULL);
    peer_raw(s, "\0\0\0\0\x09xx", 7);   /* OK, in the middle of a row */
    peer_finish(s, 0, NULL, NULL);
    n = world_expect(w, q, ENSIGN_NOTICE_END);
    assert_int_not_equal(n->as.end.status, ENSIGN_GRPC_OK);
    assert_non_null(n->error);
}

SCRIPT(a_server_that_goes_away)
{
    ensign_query_desc_t d = everything();
    stream_t *s;
    uint32_t q, late;
    world_create(w);
    q = query(w, &d);
    s = asked(w, 0, NULL);
    row_text(s, 1, "one");
    expect_row(w, q, 1, "one");
    peer_goaway(w, s->id, NGHTTP2_NO_ERROR, NULL);
    world_settle(w);
    late = query(w, &d);
    row_text(s, 2, "two");
    peer_finish(s, 0, NULL, NULL);
    expect_row(w, q, 2, "two");         /* what runs may finish */
    expect_end(w, q, 0, 2);
    s = asked(w, 1, NULL);
    assert_int_equal(s->conn->number, 1);
    peer_finish(s, 0, NULL, NULL);
    expect_end(w, late, 0, 0);
}

/* Rows that are here are given, what is cut off in the buffer is no fault, and no more are asked for. */
SCRIPT(closing_gives_the_rows_that_are_here)
{
    ensign_query_desc_t d = everything();
    stream_t *s;
    uint32_t q, other;
    world_create(w);
    q = query(w, &d);
    other = query(w, &d);
    s = asked(w, 0, NULL);
    row_text(s, 1, "one");
    world_settle(w);
    row_text(s, 2, "two");
    world_settle(w);
    peer_raw(s, "\0\0\0\1\0half a row", 15);
    world_settle(w);
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 2000), ENSIGN_OK);
    world_until(w, s->reset);
    assert_int_equal(s->reset_code, NGHTTP2_CANCEL);
    expect_row(w, q, 1, "one");
    expect_row(w, q, 2, "two");
    expect_end(w, q, 0, 2);
    expect_end(w, other, 0, 0);
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED);
}

SCRIPT(a_connection_that_comes_late)
{
    ensign_query_desc_t d = everything();
    stream_t *s;
    uint32_t q;
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    world_create(w);
    q = query(w, &d);
    world_pass(w, 60000);
    assert_null(world_pull(w, q));
    w->dial[ENSIGN_LINK_RPC] = DIAL_ACCEPT;
    s = asked(w, 0, NULL);
    peer_finish(s, 0, NULL, NULL);
    expect_end(w, q, 0, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(all_fields_of_a_row),
        IN_MODES(rows_then_one_end),
        IN_MODES(no_row_is_an_answer),
        IN_MODES(the_name_of_a_row_s_topic),
        IN_MODES(params_of_each_type),
        IN_MODES(duplicates_are_asked_for),
        IN_MODES(what_is_given_is_copied),
        IN_MODES(bad_descs),
        IN_MODES(syntax_errors_have_the_server_s_words),
        IN_MODES(an_error_behind_rows),
        IN_MODES(a_token_that_is_not_accepted),
        IN_MODES(a_token_that_runs_out_among_rows),
        IN_MODES(each_status_has_its_error),
        IN_MODES(a_row_that_is_no_event_is_a_gap),
        IN_MODES(a_row_that_is_too_large_ends_it),
        IN_MODES(a_row_that_is_compressed_ends_it),
        IN_MODES(rows_larger_than_the_window),
        IN_MODES(a_held_query_stops_its_server),
        IN_MODES(a_reader_that_stops_holds_up_no_other),
        IN_MODES(several_queries_at_once),
        IN_MODES(memory_and_no_allocation_while_rows_flow),
        IN_MODES(large_questions_stay_within_the_bound),
        IN_MODES(the_time_of_a_query),
        IN_MODES(forgetting_resets_the_stream),
        IN_MODES(a_connection_that_is_lost_among_rows),
        IN_MODES(rows_without_a_status),
        IN_MODES(a_server_that_goes_away),
        IN_MODES(closing_gives_the_rows_that_are_here),
        IN_MODES(a_connection_that_comes_late),
    };
    return cmocka_run_group_tests_name("query", tests, NULL, NULL);
}
