/* How a call ended: statuses of gRPC, HTTP and HTTP/2, and the metadata around them. */
#include "calls.h"

/* ------------------------------------------------------------------ status */
SCRIPT(trailers_only_with_each_status)
{
    ensign_call_desc_t d = unary("x");
    const ensign_notice_t *n;
    int status;
    world_create(w);
    for (status = 1; status <= 16; status++) {
        uint32_t k;
        if (status == ENSIGN_GRPC_UNAUTHENTICATED) continue;
        k = call(w, &d);
        peer_refuse(world_stream(w, (size_t)status - 1), status, "why%20not");
        n = world_reply(w, k, status);
        assert_text(n->as.reply.text, "why not");
        assert_true(n->as.reply.from_server);
        assert_non_null(n->error);
        assert_int_equal(n->error->code, ENSIGN_E_GRPC - status);
        assert_non_null(strstr(n->error->text, "why not"));
    }
}

SCRIPT(a_missing_status_is_unknown)
{
    ensign_call_desc_t d = unary("x");
    uint32_t k;
    stream_t *s;
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    peer_message(s, "a", 1);
    peer_finish_bare(s);
    world_reply(w, k, ENSIGN_GRPC_UNKNOWN);
    k = call(w, &d);
    s = world_stream(w, 1);
    peer_message(s, "a", 1);
    peer_add(&s->trailers, "x-else", "1");
    s->with_trailers = true;
    peer_finish_bare(s);
    world_reply(w, k, ENSIGN_GRPC_UNKNOWN);
    k = call(w, &d);
    peer_only(world_stream(w, 2), "200", "content-type", "application/grpc", NULL);
    world_reply(w, k, ENSIGN_GRPC_UNKNOWN);
    k = call(w, &d);
    peer_only(world_stream(w, 3), "200", "content-type", "application/grpc", "grpc-status", "99", NULL);
    world_reply(w, k, ENSIGN_GRPC_UNKNOWN);
    k = call(w, &d);
    peer_only(world_stream(w, 4), "200", "content-type", "application/grpc", "grpc-status", "x", NULL);
    world_reply(w, k, ENSIGN_GRPC_UNKNOWN);
}

SCRIPT(http_statuses_become_grpc_statuses)
{
    static const struct { const char *http; int grpc;
    } table[] = {
        { "400", ENSIGN_GRPC_INTERNAL },          { "401", ENSIGN_GRPC_UNAUTHENTICATED },
        { "403", ENSIGN_GRPC_PERMISSION_DENIED }, { "404", ENSIGN_GRPC_UNIMPLEMENTED },
        { "429", ENSIGN_GRPC_UNAVAILABLE },       { "502", ENSIGN_GRPC_UNAVAILABLE },
        { "503", ENSIGN_GRPC_UNAVAILABLE },       { "504", ENSIGN_GRPC_UNAVAILABLE },
        { "500", ENSIGN_GRPC_UNKNOWN },           { "418", ENSIGN_GRPC_UNKNOWN },
        { "302", ENSIGN_GRPC_UNKNOWN },
    };
    ensign_call_desc_t d = unary("x");
    size_t i;
    uint32_t k;
    stream_t *s;
    world_create(w);
    for (i = 0; i < COUNT(table); i++) {
        k = call(w, &d);
        peer_only(world_stream(w, 2 * i), table[i].http, "content-type", "text/html", NULL);
        world_reply(w, k, table[i].grpc);
        k = call(w, &d);
        s = world_stream(w, 2 * i + 1);
        peer_headers(s, table[i].http, "content-type", "text/html", NULL);
        peer_raw(s, "<html>an answer of a proxy</html>", 33);
        peer_finish_bare(s);
        world_reply(w, k, table[i].grpc);
    }
    k = call(w, &d);
    s = world_stream(w, 2 * i);
    peer_headers(s, "200", "content-type", "text/html", NULL);
    peer_raw(s, "<html>a captive portal</html>", 29);
    peer_finish_bare(s);
    world_reply(w, k, ENSIGN_GRPC_UNKNOWN);
}

SCRIPT(resets_become_grpc_statuses)
{
    static const struct { uint32_t h2; int grpc;
    } table[] = {
        { NGHTTP2_NO_ERROR, ENSIGN_GRPC_INTERNAL },
        { NGHTTP2_PROTOCOL_ERROR, ENSIGN_GRPC_INTERNAL },
        { NGHTTP2_INTERNAL_ERROR, ENSIGN_GRPC_INTERNAL },
        { NGHTTP2_FLOW_CONTROL_ERROR, ENSIGN_GRPC_INTERNAL },
        { NGHTTP2_SETTINGS_TIMEOUT, ENSIGN_GRPC_INTERNAL },
        { NGHTTP2_FRAME_SIZE_ERROR, ENSIGN_GRPC_INTERNAL },
        { NGHTTP2_REFUSED_STREAM, ENSIGN_GRPC_UNAVAILABLE },
        { NGHTTP2_CANCEL, ENSIGN_GRPC_CANCELLED },
        { NGHTTP2_COMPRESSION_ERROR, ENSIGN_GRPC_INTERNAL },
        { NGHTTP2_CONNECT_ERROR, ENSIGN_GRPC_INTERNAL },
        { NGHTTP2_ENHANCE_YOUR_CALM, ENSIGN_GRPC_RESOURCE_EXHAUSTED },
        { NGHTTP2_INADEQUATE_SECURITY, ENSIGN_GRPC_PERMISSION_DENIED },
    };
    ensign_call_desc_t d = streaming();
    size_t i;
    world_create(w);
    for (i = 0; i < COUNT(table); i++) {
        uint32_t k = call(w, &d);
        stream_t *s = world_stream(w, i);
        peer_message(s, "first", 5);
        world_until(w, s->out_at == s->out.len);
        world_settle(w);
        peer_reset(s, table[i].h2);
        world_settle(w);
        world_await(w, k, ENSIGN_NOTICE_HEADERS);
        assert_text(world_expect(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "first");
        world_end(w, k, table[i].grpc);
        assert_int_equal(w->stream_count, i + 1);
    }
}

SCRIPT(messages_of_a_status_are_percent_decoded)
{
    static const char *const table[][2] = {
        { "plain", "plain" },
        { "a%20b%2Cc", "a b,c" },
        { "%E2%98%83", "\xE2\x98\x83" },
        { "%e2%98%83", "\xE2\x98\x83" },
        { "100%", "100%" },
        { "5%4", "5%4" },
        { "%zz%41", "%zzA" },
        { "%%41", "%A" },
        { "%2", "%2" },
        { "%0A", "\n" },
    };
    ensign_call_desc_t d = unary("x");
    size_t i;
    world_create(w);
    for (i = 0; i < COUNT(table); i++) {
        uint32_t k = call(w, &d);
        peer_refuse(world_stream(w, i), 3, table[i][0]);
        assert_text(world_reply(w, k, ENSIGN_GRPC_INVALID_ARGUMENT)->as.reply.text, table[i][1]);
    }
}

/* ------------------------------------------------------------------ metadata */
static size_t values_of(world_t *w, uint32_t k, int which, const char *key, ensign_slice_t *out, size_t cap)
{
    ensign_slice_t name, value;
    size_t at = 0, n = 0;
    while (ensign_call_metadata_next(w->client, as_call(k), which, &at, &name, &value)) {
        if (name.len == strlen(key) && memcmp(name.ptr, key, name.len) == 0 && n < cap) out[n++] = value;
    }
    return n;
}

static size_t fields_of(const stream_t *s, const char *name, const char **out, size_t cap)
{
    ensign_slice_t key, value;
    size_t n = 0, at = 0;
    while (field_next(&s->fields, &at, &key, &value)) {
        if (strcmp((const char *)key.ptr, name) == 0 && n < cap) out[n++] = (const char *)value.ptr;
    }
    return n;
}

SCRIPT(metadata_goes_out)
{
    static const uint8_t raw[] = { 0xab, 0xab, 0xab, 0x00, 0xff };
    ensign_header_t m[5];
    ensign_call_desc_t d = unary("x");
    const char *v[4] = { 0 };
    uint32_t k;
    stream_t *s;
    m[0].key = "x-a";
    m[0].value = text_slice("1");
    m[1].key = "x-raw-bin";
    m[1].value = slice_of(raw, 3);
    m[2].key = "x-a";
    m[2].value = text_slice("2, 3");
    m[3].key = "x-raw-bin";
    m[3].value = slice_of(raw + 4, 1);
    m[4].key = "x-raw-bin";
    m[4].value = slice_of(raw, 5);
    d.metadata = m;
    d.metadata_count = 5;
    world_create(w);
    k = call(w, &d);
    memset(m, 0, sizeof m);
    s = world_stream(w, 0);
    assert_int_equal(fields_of(s, "x-a", v, 4), 2);
    assert_string_equal(v[0], "1");
    assert_string_equal(v[1], "2, 3");
    assert_int_equal(fields_of(s, "x-raw-bin", v, 4), 3);
    assert_string_equal(v[0], "q6ur");
    assert_string_equal(v[1], "/w");
    assert_string_equal(v[2], "q6urAP8");
    peer_refuse(s, 5, "x");
    world_reply(w, k, ENSIGN_GRPC_NOT_FOUND);
}

SCRIPT(metadata_comes_in)
{
    ensign_call_desc_t d = streaming();
    ensign_slice_t v[4], one;
    const ensign_notice_t *n;
    uint32_t k;
    stream_t *s;
    memset(v, 0, sizeof v);
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    peer_headers(s, "200", "content-type", "application/grpc", "x-d", "1", "x-bin", "q6ur", "x-d", "2",
                 "x-bin", "/w==,AAH+", NULL);
    world_expect(w, k, ENSIGN_NOTICE_HEADERS);
    assert_int_equal(values_of(w, k, ENSIGN_HEADERS, "x-d", v, 4), 2);
    assert_text(v[0], "1");
    assert_text(v[1], "2");
    assert_int_equal(values_of(w, k, ENSIGN_HEADERS, "x-bin", v, 4), 3);
    assert_slice(v[0], "\xab\xab\xab", 3);
    assert_slice(v[1], "\xff", 1);
    assert_slice(v[2], "\x00\x01\xfe", 3);
    assert_false(ensign_call_metadata_get(w->client, as_call(k), ENSIGN_TRAILERS, "x-d", &one));
    assert_false(ensign_call_metadata_get(w->client, as_call(k), ENSIGN_HEADERS, "x-none", &one));
    peer_message(s, "m", 1);
    peer_finish(s, 8, "full", "x-t", "end", "grpc-status-details-bin", "CAgSBGZ1bGw",
                "grpc-retry-pushback-ms", "1500", NULL);
    world_expect(w, k, ENSIGN_NOTICE_MESSAGE);
    n = world_expect(w, k, ENSIGN_NOTICE_END);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_RESOURCE_EXHAUSTED);
    assert_slice(n->as.end.details, "\x08\x08\x12\x04" "full", 8);
    assert_int_equal(n->as.end.retry_after_ms, 1500);
    assert_true(ensign_call_metadata_get(w->client, as_call(k), ENSIGN_TRAILERS, "x-t", &one));
    assert_text(one, "end");
    assert_true(ensign_call_metadata_get(w->client, as_call(k), ENSIGN_HEADERS, "x-d", &one));
}

/* Headers and trailers have a limit each. What is over it is dropped and told of; the answer and the status
 * are the server's, and no other call notices. */
SCRIPT(too_much_metadata_is_cut_and_the_status_stays)
{
    static char much[9001], half[5001];
    ensign_call_desc_t d = unary("q");
    const ensign_notice_t *n;
    ensign_slice_t value;
    uint32_t k;
    stream_t *s;
    memset(much, 'm', sizeof much - 1);
    memset(half, 'h', sizeof half - 1);
    world_create(w);
    for (size_t i = 0; i < 5; i++) {
        k = call(w, &d);
        s = world_stream(w, i);
        peer_headers(s, "200", "content-type", "application/grpc", i == 0 ? "x-much" : "x-half",
                     i == 0 ? much : half, NULL);
        peer_message(s, "m", 1);
        if (i < 2) peer_finish(s, 0, NULL, "x-half", half, "x-t", "tail", NULL);
        else if (i == 2) peer_finish(s, 0, NULL, "x-t", "tail", "x-much", much, NULL);
        else if (i == 3) peer_finish(s, 5, much, "x-t", "tail", NULL);
        else peer_finish(s, 5, "words", "x-half", half, "x-half", half, "x-t", "tail", NULL);
        n = world_reply(w, k, i < 3 ? ENSIGN_GRPC_OK : ENSIGN_GRPC_NOT_FOUND);
        assert_true(n->as.reply.from_server);
        assert_int_equal(n->as.reply.metadata_cut, i != 1);
        if (i < 3) assert_text(n->as.reply.message, "m");
        if (i == 3) assert_in_range(n->as.reply.text.len, 8192, 9000 - 1);
        if (i == 4) assert_text(n->as.reply.text, "words");
        if (i >= 3) assert_non_null(strstr(n->error->text, "cut at max_metadata_bytes, 8192"));
        assert_int_equal(ensign_call_metadata_get(w->client, as_call(k), ENSIGN_HEADERS, "x-half", &value),
                         i != 0);
        assert_int_equal(ensign_call_metadata_get(w->client, as_call(k), ENSIGN_TRAILERS, "x-half", &value),
                         i < 2 || i == 4);
        assert_int_equal(ensign_call_metadata_get(w->client, as_call(k), ENSIGN_TRAILERS, "x-t", &value),
                         i < 3);
    }
    assert_int_equal(w->conn_count, 1);
}

/* grpcio and grpc-go send a text as it is, a blank at its end too. */
SCRIPT(blanks_at_the_ends_of_values_are_taken)
{
    ensign_call_desc_t d = unary("q");
    const ensign_notice_t *n;
    ensign_slice_t value;
    uint32_t k;
    stream_t *s;
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    peer_headers(s, "200", "content-type", "application/grpc", "x-h", " head\t", NULL);
    peer_finish(s, ENSIGN_GRPC_NOT_FOUND, "no such file: ", "x-t", "\ttail ", "x-blank", " ", NULL);
    n = world_reply(w, k, ENSIGN_GRPC_NOT_FOUND);
    assert_true(n->as.reply.from_server);
    assert_text(n->as.reply.text, "no such file: ");
    assert_true(ensign_call_metadata_get(w->client, as_call(k), ENSIGN_HEADERS, "x-h", &value));
    assert_text(value, " head\t");
    assert_true(ensign_call_metadata_get(w->client, as_call(k), ENSIGN_TRAILERS, "x-t", &value));
    assert_text(value, "\ttail ");
    assert_true(ensign_call_metadata_get(w->client, as_call(k), ENSIGN_TRAILERS, "x-blank", &value));
    assert_text(value, " ");
}

SCRIPT(illegal_calls_are_refused_here)
{
    static const char *const keys[] = { ":x", "grpc-x", "grpc-timeout", "X-Upper",
                                        "",   "a b",    "a:b",          "k\xC3\xA9y" };
    static const char *const methods[] = { "", "no-slash", NULL };
    ensign_header_t m;
    ensign_call_desc_t d = unary("x");
    size_t i;
    world_create(w);
    d.metadata = &m;
    d.metadata_count = 1;
    m.value = text_slice("v");
    for (i = 0; i < COUNT(keys); i++) {
        m.key = keys[i];
        if (ensign_call_open(w->client, &d).id) world_fail(w, "the metadata key \"%s\" was taken", keys[i]);
        assert_int_equal(ensign_error(w->client)->code, ENSIGN_E_ARGUMENT);
    }
    m.key = "x-a";
    m.value = text_slice("line\nbreak");
    assert_int_equal(ensign_call_open(w->client, &d).id, 0);
    d.metadata_count = 0;
    for (i = 0; i < COUNT(methods); i++) {
        d.method = methods[i];
        assert_int_equal(ensign_call_open(w->client, &d).id, 0);
        assert_int_equal(ensign_error(w->client)->code, ENSIGN_E_ARGUMENT);
    }
    world_settle(w);
    assert_int_equal(w->stream_count, 0);
}

/* ------------------------------------------------------------------ the one notice of a unary call */
typedef struct ending_t {
    void (*play)(world_t *w, uint32_t k, stream_t *s);
    int status, code;               /* code: of the error */
    const char *words;              /* of the error's text */
    bool from_server, unprocessed;
    bool head, tail;                /* the server has sent x-h in HEADERS, x-t in trailers */
} ending_t;

static void head(stream_t *s)
{
    peer_headers(s, "200", "content-type", "application/grpc", "x-h", "head", NULL);
}

static void answer(stream_t *s)
{
    head(s);
    peer_message(s, "answer", 6);
}

static void tail(stream_t *s, int status)
{
    peer_finish(s, status, "words", "x-t", "tail", NULL);
}

static void ok(world_t *w, uint32_t k, stream_t *s)
{
    (void)w, (void)k;
    answer(s);
    tail(s, ENSIGN_GRPC_OK);
}

static void status_alone(world_t *w, uint32_t k, stream_t *s)
{
    (void)w, (void)k;
    peer_only(s, "200", "content-type", "application/grpc", "grpc-status", "5", "grpc-message", "words",
              "x-t", "tail", NULL);
}

static void status_behind_headers(world_t *w, uint32_t k, stream_t *s)
{
    (void)w, (void)k;
    head(s);
    tail(s, ENSIGN_GRPC_NOT_FOUND);
}

static void status_behind_an_answer(world_t *w, uint32_t k, stream_t *s)
{
    (void)w, (void)k;
    answer(s);
    tail(s, ENSIGN_GRPC_ABORTED);
}

static void http_error(world_t *w, uint32_t k, stream_t *s)
{
    (void)w, (void)k;
    peer_headers(s, "503", "content-type", "text/html", "x-h", "head", NULL);
    peer_raw(s, "<html>later</html>", 18);
    peer_finish_bare(s);
}

static void no_grpc(world_t *w, uint32_t k, stream_t *s)
{
    (void)w, (void)k;
    peer_headers(s, "200", "content-type", "text/html", "x-h", "head", NULL);
    peer_raw(s, "<html>hello</html>", 18);
    peer_finish_bare(s);
}

static void no_status(world_t *w, uint32_t k, stream_t *s)
{
    (void)w, (void)k;
    answer(s);
    peer_finish_bare(s);
}

static void reset(world_t *w, uint32_t k, stream_t *s)
{
    (void)w, (void)k;
    peer_reset(s, NGHTTP2_ENHANCE_YOUR_CALM);
}

static void reset_behind_an_answer(world_t *w, uint32_t k, stream_t *s)
{
    (void)k;
    answer(s);
    world_settle(w);
    peer_reset(s, NGHTTP2_INTERNAL_ERROR);
}

static void no_answer(world_t *w, uint32_t k, stream_t *s)
{
    (void)w, (void)k;
    head(s);
    tail(s, ENSIGN_GRPC_OK);
}

static void cut_answer(world_t *w, uint32_t k, stream_t *s)
{
    (void)w, (void)k;
    head(s);
    peer_prefix(s, 0, 10);
    peer_raw(s, "half", 4);
    tail(s, ENSIGN_GRPC_OK);
}

/* These three are found while the server could still send: no trailers are waited for. */
static void two_answers(world_t *w, uint32_t k, stream_t *s)
{
    (void)w, (void)k;
    answer(s);
    peer_message(s, "another", 7);
}

static void large_answer(world_t *w, uint32_t k, stream_t *s)
{
    (void)w, (void)k;
    head(s);
    send_pattern(s, 0, 1001);
}

static void compressed_answer(world_t *w, uint32_t k, stream_t *s)
{
    (void)w, (void)k;
    head(s);
    peer_prefix(s, 1, 3);
    peer_raw(s, "xyz", 3);
}

static void large_metadata(world_t *w, uint32_t k, stream_t *s)
{
    static char much[9000];
    (void)w, (void)k;
    memset(much, 'm', sizeof much - 1);
    answer(s);
    peer_finish(s, ENSIGN_GRPC_ABORTED, "words", "x-t", "tail", "x-much", much, NULL);
}

static void lost(world_t *w, uint32_t k, stream_t *s)
{
    (void)k, (void)s;
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
}

static void lost_behind_an_answer(world_t *w, uint32_t k, stream_t *s)
{
    (void)k;
    answer(s);
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
}

static void late(world_t *w, uint32_t k, stream_t *s)
{
    (void)w, (void)k, (void)s;
}

static void late_behind_an_answer(world_t *w, uint32_t k, stream_t *s)
{
    (void)k;
    answer(s);
    world_settle(w);
}

static void cancelled(world_t *w, uint32_t k, stream_t *s)
{
    answer(s);
    world_settle(w);
    assert_false(ensign_pending(w->client, k));
    assert_int_equal(ensign_cancel(w->client, k), ENSIGN_OK);
}

static void cancelled_too_late(world_t *w, uint32_t k, stream_t *s)
{
    ok(w, k, s);
    world_settle(w);
    assert_true(ensign_pending(w->client, k));
    assert_int_equal(ensign_cancel(w->client, k), ENSIGN_OK);
    assert_int_equal(ensign_close(w->client, k, 0), ENSIGN_OK);
}

static void closed(world_t *w, uint32_t k, stream_t *s)
{
    assert_int_equal(ensign_close(w->client, k, 500), ENSIGN_OK);
    world_pass(w, 300);
    assert_false(ensign_pending(w->client, k));
    ok(w, k, s);
}

static void closed_in_vain(world_t *w, uint32_t k, stream_t *s)
{
    uint64_t began = w->now;
    assert_int_equal(ensign_close(w->client, k, 100), ENSIGN_OK);
    world_pass(w, 80);
    assert_int_equal(ensign_close(w->client, k, 500), ENSIGN_OK); /* counts from here */
    answer(s);
    world_until(w, ensign_pending(w->client, k));
    assert_in_range(w->now - began, 580, 590);
}

static const ensign_notice_t *check_reply(world_t *w, uint32_t k, const ending_t *e)
{
    const ensign_notice_t *n = world_reply(w, k, e->status);
    ensign_stats_t stats;
    ensign_notice_t copy = *n;
    ensign_slice_t v;
    world_pass(w, 1000);
    assert_memory_equal(n, &copy, sizeof copy);
    if (n->error && (n->error->code != e->code || !strstr(n->error->text, e->words)))
        world_fail(w, "REPLY with %d (%s) instead of %d (%s)", n->error->code, n->error->text, e->code,
                   e->words);
    if (e->status == ENSIGN_GRPC_OK) assert_text(n->as.reply.message, "answer");
    assert_false(n->as.reply.compressed);
    assert_int_equal(n->as.reply.from_server, e->from_server);
    assert_int_equal(n->as.reply.unprocessed, e->unprocessed);
    assert_int_equal(n->as.reply.retry_after_ms, -1);
    assert_int_equal(ensign_call_metadata_get(w->client, as_call(k), ENSIGN_HEADERS, "x-h", &v), e->head);
    if (e->head) assert_text(v, "head");
    assert_int_equal(ensign_call_metadata_get(w->client, as_call(k), ENSIGN_TRAILERS, "x-t", &v), e->tail);
    if (e->tail) assert_text(v, "tail");
    assert_int_equal(ensign_stats(w->client, k, &stats), ENSIGN_OK);
    assert_int_equal(stats.received, e->status == ENSIGN_GRPC_OK ? 1 : 0);
    return n;
}

/* No second notice, and the handle is dead. */
static void check_over(world_t *w, uint32_t k)
{
    ensign_stats_t stats;
    ensign_slice_t v;
    assert_false(ensign_pending(w->client, k));
    assert_null(ensign_next_of(w->client, k));
    assert_int_equal(ensign_stats(w->client, k, &stats), ENSIGN_E_HANDLE);
    assert_int_equal(ensign_cancel(w->client, k), ENSIGN_E_HANDLE);
    assert_false(ensign_call_metadata_get(w->client, as_call(k), ENSIGN_HEADERS, "x-h", &v));
    assert_int_equal(w->waits, 0);
}

/* A call that is sent, and what its server and its program do then. */
static void end_by(world_t *w, const ending_t *e)
{
    ensign_call_desc_t d = unary("q");
    size_t before = w->stream_count;
    uint32_t k;
    stream_t *s;
    d.deadline_ms = 2000;
    d.max_message_bytes = 1000;
    d.wait_for_ready = true;
    k = call(w, &d);
    s = world_stream(w, before);
    assert_text(world_request(w, s), "q");
    e->play(w, k, s);
    check_reply(w, k, e);
    check_over(w, k);
    assert_true(s->closed);
    assert_int_equal(w->stream_count, before + 1);
}

SCRIPT(each_ending_of_a_unary_call_is_one_reply)
{
    static const ending_t endings[] = {
        { ok, ENSIGN_GRPC_OK, 0, "", true, false, true, true },
        { status_alone, ENSIGN_GRPC_NOT_FOUND, ENSIGN_E_NOT_FOUND, "NOT_FOUND: words", true, false, false,
          true },
        { status_behind_headers, ENSIGN_GRPC_NOT_FOUND, ENSIGN_E_NOT_FOUND, "NOT_FOUND: words", true, false,
          true, true },
        { status_behind_an_answer, ENSIGN_GRPC_ABORTED, ENSIGN_E_ABORTED, "ABORTED: words", true, false,
          true, true },
        { http_error, ENSIGN_GRPC_UNAVAILABLE, ENSIGN_E_PROTOCOL,
          "HTTP status 503: later; a proxy in between", false, false, true, false },
        { no_grpc, ENSIGN_GRPC_UNKNOWN, ENSIGN_E_PROTOCOL,
          "grpc: hello; is this a gRPC server?", false, false, true, false },
        { no_status, ENSIGN_GRPC_UNKNOWN, ENSIGN_E_PROTOCOL, "without a grpc-status", false, false, true,
          false },
        { reset, ENSIGN_GRPC_RESOURCE_EXHAUSTED, ENSIGN_E_RESET, "ENHANCE_YOUR_CALM", false, false, false,
          false },
        { reset_behind_an_answer, ENSIGN_GRPC_INTERNAL, ENSIGN_E_RESET, "INTERNAL_ERROR", false, false, true,
          false },
        { no_answer, ENSIGN_GRPC_INTERNAL, ENSIGN_E_INTERNAL, "no whole answer", false, false, true, true },
        { two_answers, ENSIGN_GRPC_INTERNAL, ENSIGN_E_INTERNAL, "more than one answer", false, false, true,
          false },
        { cut_answer, ENSIGN_GRPC_INTERNAL, ENSIGN_E_INTERNAL, "no whole answer", false, false, true, true },
        { large_answer, ENSIGN_GRPC_RESOURCE_EXHAUSTED, ENSIGN_E_TOO_LARGE, "raise max_message_bytes", false,
          false, true, false },
        { compressed_answer, ENSIGN_GRPC_INTERNAL, ENSIGN_E_INTERNAL, "flag 1", false, false, true, false },
        { large_metadata, ENSIGN_GRPC_ABORTED, ENSIGN_E_ABORTED,
          "ABORTED (metadata cut at max_metadata_bytes, 8192): words", true, false, true, true },
        { late, ENSIGN_GRPC_DEADLINE_EXCEEDED, ENSIGN_E_DEADLINE_EXCEEDED, "the deadline passed", false,
          false, false, false },
        { late_behind_an_answer, ENSIGN_GRPC_DEADLINE_EXCEEDED, ENSIGN_E_DEADLINE_EXCEEDED,
          "the deadline passed", false, false, true, false },
        { cancelled, ENSIGN_GRPC_CANCELLED, ENSIGN_E_CANCELLED, "cancelled by this program", false, false,
          true, false },
        { cancelled_too_late, ENSIGN_GRPC_OK, 0, "", true, false, true, true },
        { closed, ENSIGN_GRPC_OK, 0, "", true, false, true, true },
        { closed_in_vain, ENSIGN_GRPC_CANCELLED, ENSIGN_E_CANCELLED, "within the time of ensign_close",
          false, false, true, false },
        { lost, ENSIGN_GRPC_UNAVAILABLE, ENSIGN_E_CLOSED, "is gone", false, false, false, false },
        { lost_behind_an_answer, ENSIGN_GRPC_UNAVAILABLE, ENSIGN_E_CLOSED, "is gone", false, false, true,
          false },
    };
    size_t i;
    world_create(w);
    for (i = 0; i < COUNT(endings); i++) end_by(w, &endings[i]);
}

SCRIPT(each_status_is_a_reply)
{
    ensign_call_desc_t d = unary("q");
    const ensign_notice_t *n;
    ending_t e = { 0 };
    uint32_t k;
    world_create(w);
    e.words = "words";
    e.from_server = e.head = e.tail = true;
    for (e.status = 1; e.status <= ENSIGN_GRPC_UNAUTHENTICATED; e.status++) {
        k = call(w, &d);
        answer(world_stream(w, (size_t)e.status - 1));
        tail(w->streams[e.status - 1], e.status);
        e.code = ENSIGN_E_GRPC - e.status;
        n = check_reply(w, k, &e);
        assert_text(n->as.reply.text, "words");
        assert_int_equal(n->as.reply.details.len, 0);
        check_over(w, k);
    }
}

/* A call that never was on the wire. */
static void end_unsent(world_t *w, uint32_t k, int status, int code, const char *words)
{
    ending_t e = { 0 };
    e.status = status;
    e.code = code;
    e.words = words;
    e.unprocessed = true;
    check_reply(w, k, &e);
    check_over(w, k);
    assert_int_equal(w->stream_count, 0);
}

SCRIPT(an_unsent_unary_call_ends_by_one_reply)
{
    ensign_call_desc_t d = unary("q");
    uint32_t k, last;
    w->dial[ENSIGN_LINK_RPC] = DIAL_SILENT;
    w->desc.connect_timeout_ms = 60000;
    world_create(w);
    k = call(w, &d);
    assert_int_equal(ensign_cancel(w->client, k), ENSIGN_OK);
    end_unsent(w, k, ENSIGN_GRPC_CANCELLED, ENSIGN_E_CANCELLED, "cancelled by this program");
    k = call(w, &d);
    assert_int_equal(ensign_close(w->client, k, 0), ENSIGN_OK);
    end_unsent(w, k, ENSIGN_GRPC_CANCELLED, ENSIGN_E_CANCELLED, "within the time of ensign_close");
    d.deadline_ms = 700;
    k = call(w, &d);
    end_unsent(w, k, ENSIGN_GRPC_DEADLINE_EXCEEDED, ENSIGN_E_DEADLINE_EXCEEDED, "before it could be sent");
    d.deadline_ms = 0;
    k = call(w, &d);
    assert_int_equal(ensign_forget(w->client, k), ENSIGN_OK);
    check_over(w, k);
    k = call(w, &d);
    last = call(w, &d);
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 500), ENSIGN_OK);
    end_unsent(w, k, ENSIGN_GRPC_CANCELLED, ENSIGN_E_CANCELLED, "within the time of ensign_close");
    end_unsent(w, last, ENSIGN_GRPC_CANCELLED, ENSIGN_E_CANCELLED, "within the time of ensign_close");
    assert_true(world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED)->last);
}

SCRIPT(a_unary_call_that_does_not_wait_is_refused_by_one_reply)
{
    ensign_call_desc_t d = unary("q");
    uint32_t k, ready;
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    w->desc.give_up_after_ms = 20000;
    world_create(w);
    k = call(w, &d);
    d.wait_for_ready = true;
    ready = call(w, &d);
    end_unsent(w, k, ENSIGN_GRPC_UNAVAILABLE, ENSIGN_E_UNAVAILABLE,
               "not sent: rpc: cannot connect to localhost:5356");
    end_unsent(w, ready, ENSIGN_GRPC_UNAVAILABLE, ENSIGN_E_CONNECT, "cannot connect to localhost:5356");
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_FAILED);
}

SCRIPT(a_reply_has_all_that_the_trailers_tell)
{
    ensign_call_desc_t d = unary("q");
    ensign_slice_t v[4];
    const ensign_notice_t *n;
    uint32_t k;
    stream_t *s;
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    peer_headers(s, "200", "content-type", "application/grpc", "x-d", "1", "x-bin", "q6ur", "x-d", "2", NULL);
    peer_finish(s, 8, "full", "x-t", "end", "grpc-status-details-bin", "CAgSBGZ1bGw",
                "grpc-retry-pushback-ms", "1500", NULL);
    n = world_reply(w, k, ENSIGN_GRPC_RESOURCE_EXHAUSTED);
    assert_text(n->as.reply.text, "full");
    assert_slice(n->as.reply.details, "\x08\x08\x12\x04" "full", 8);
    assert_int_equal(n->as.reply.retry_after_ms, 1500);
    assert_int_equal(values_of(w, k, ENSIGN_HEADERS, "x-d", v, 4), 2);
    assert_text(v[0], "1");
    assert_text(v[1], "2");
    assert_int_equal(values_of(w, k, ENSIGN_HEADERS, "x-bin", v, 4), 1);
    assert_slice(v[0], "\xab\xab\xab", 3);
    assert_int_equal(values_of(w, k, ENSIGN_TRAILERS, "x-t", v, 4), 1);
    assert_text(v[0], "end");
    assert_int_equal(values_of(w, k, ENSIGN_TRAILERS, "x-d", v, 4), 0);
}

SCRIPT(a_compressed_answer_that_was_agreed)
{
    ensign_call_desc_t d = unary("q");
    const ensign_notice_t *n;
    uint32_t k;
    stream_t *s;
    world_create(w);
    d.accept_encoding = "gzip";
    k = call(w, &d);
    s = world_stream(w, 0);
    assert_string_equal(peer_field(s, "grpc-accept-encoding"), "gzip");
    peer_headers(s, "200", "content-type", "application/grpc", "grpc-encoding", "gzip", NULL);
    peer_prefix(s, 1, 3);
    peer_raw(s, "xyz", 3);
    peer_finish(s, 0, NULL, NULL);
    n = world_reply(w, k, ENSIGN_GRPC_OK);
    assert_true(n->as.reply.compressed);
    assert_text(n->as.reply.message, "xyz");
}

/* A server may answer in the encoding of the request (grpc-go does): what it has done is not reported as failed. */
SCRIPT(an_answer_in_the_encoding_of_the_request)
{
    static const struct { const char *encoding, *accept, *sent; } rows[] = {
        { "gzip", NULL, "gzip" }, { "gzip", "identity", "identity" }, { "gzip", "zstd,gzip", "zstd,gzip" },
        { NULL, NULL, NULL }, { "identity", NULL, "identity" },
    };
    const ensign_notice_t *n;
    stream_t *s;
    world_create(w);
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensign_call_desc_t d = unary("q");
        uint32_t k;
        d.encoding = rows[i].encoding;
        d.accept_encoding = rows[i].accept;
        k = call(w, &d);
        s = world_stream(w, i);
        if (rows[i].sent) assert_string_equal(peer_field(s, "grpc-accept-encoding"), rows[i].sent);
        else assert_null(peer_field(s, "grpc-accept-encoding"));
        peer_headers(s, "200", "content-type", "application/grpc", "grpc-encoding", "gzip", NULL);
        peer_prefix(s, i == 0, 3); /* the others get a message that is not compressed */
        peer_raw(s, "xyz", 3);
        peer_finish(s, 0, NULL, NULL);
        n = world_reply(w, k, ENSIGN_GRPC_OK);
        assert_int_equal(n->as.reply.compressed, i == 0);
        assert_text(n->as.reply.message, "xyz");
    }
}

/* Larger than the window, and while it stands others come and go, and the connection with them. */
SCRIPT(an_answer_stands_until_the_next_pull)
{
    enum { LARGE = 100000 };
    ensign_call_desc_t d = unary("q");
    const ensign_notice_t *n;
    ensign_notice_t copy;
    uint32_t k, other;
    stream_t *s;
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    send_pattern(s, 7, LARGE);
    peer_finish(s, 0, NULL, NULL);
    n = world_reply(w, k, ENSIGN_GRPC_OK);
    copy = *n;
    check_pattern(w, n->as.reply.message, 7, LARGE);
    other = call(w, &d);
    send_pattern(world_stream(w, 1), 8, LARGE);
    peer_finish(w->streams[1], 0, NULL, NULL);
    world_until(w, w->streams[1]->closed);
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    world_pass(w, 5000);
    assert_memory_equal(n, &copy, sizeof copy);
    check_pattern(w, n->as.reply.message, 7, LARGE);
    check_pattern(w, world_reply(w, other, ENSIGN_GRPC_OK)->as.reply.message, 8, LARGE);
    check_over(w, k);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(trailers_only_with_each_status), IN_MODES(a_missing_status_is_unknown),
        IN_MODES(http_statuses_become_grpc_statuses), IN_MODES(resets_become_grpc_statuses),
        IN_MODES(messages_of_a_status_are_percent_decoded), IN_MODES(metadata_goes_out),
        IN_MODES(metadata_comes_in), IN_MODES(too_much_metadata_is_cut_and_the_status_stays),
        IN_MODES(blanks_at_the_ends_of_values_are_taken),
        IN_MODES(illegal_calls_are_refused_here), IN_MODES(each_ending_of_a_unary_call_is_one_reply),
        IN_MODES(each_status_is_a_reply), IN_MODES(an_unsent_unary_call_ends_by_one_reply),
        IN_MODES(a_unary_call_that_does_not_wait_is_refused_by_one_reply),
        IN_MODES(a_reply_has_all_that_the_trailers_tell), IN_MODES(a_compressed_answer_that_was_agreed),
        IN_MODES(an_answer_in_the_encoding_of_the_request), IN_MODES(an_answer_stands_until_the_next_pull),
    };
    return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
