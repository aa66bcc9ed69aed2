/* Calls with ENSIGN_GZIP: what is compressed on its way out, what is decompressed on its way in, what cannot
   be. */
#define ENSIGN_GZIP
#include "calls.h"
#include "../gzip.h"

static const char *const accepted = "gzip,identity";

static ensign_call_desc_t compressing(void)
{
    ensign_call_desc_t d = streaming();
    d.compress = true;
    return d;
}

/* Headers of an answer that is compressed by gzip. */
static void head(stream_t *s)
{
    peer_headers(s, "200", "content-type", "application/grpc", "grpc-encoding", "gzip", NULL);
}

/* These bytes behind a prefix that says: compressed. */
static void send_as_gzip(stream_t *s, const void *p, size_t n)
{
    peer_prefix(s, 1, n);
    peer_raw(s, p, n);
}

/* Message `message` of patterns, n bytes that gzip makes smaller, compressed or not. */
static void send_patterns(stream_t *s, size_t message, size_t n, bool compressed)
{
    bytes_t plain = {0}, b = {0};
    for (size_t i = 0; i < n; i++) {
        uint8_t x = pattern(message, i);
        bytes_add(&plain, &x, 1);
    }
    if (!compressed) peer_message(s, plain.p, n);
    gzip_add(&b, plain.p, n);
    if (compressed) send_as_gzip(s, b.p, b.len);
    bytes_free(&b);
    bytes_free(&plain);
}

/* The next message of a request, which must say `compressed` and be these bytes. */
static void want_request(world_t *w, stream_t *s, bool compressed, const void *p, size_t n)
{
    size_t at = s->in_at;
    ensign_slice_t m = world_request(w, s);
    bytes_t b = {0};
    assert_int_equal(s->in.p[at], compressed ? 1 : 0);
    if (compressed) {
        assert_true(m.len < n);
        assert_true(gzip_read(&b, m.ptr, m.len, n));
        m = bytes_slice(&b);
    }
    assert_slice(m, p, n);
    bytes_free(&b);
}

static void fill_text(char *p, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++) p[i] = (char)('a' + (i * i / 7) % 5);
    if (n) p[n - 1] = '\0';
}

static void want_message(world_t *w, uint32_t k, bool decompressed, size_t message, size_t n)
{
    const ensign_notice_t *got = world_expect(w, k, ENSIGN_NOTICE_MESSAGE);
    assert_int_equal(got->as.message.decompressed, decompressed);
    assert_false(got->as.message.compressed);
    check_pattern(w, got->as.message.bytes, message, n);
}

/* ------------------------------------------------------------------ what goes and what comes */
SCRIPT(a_unary_call_is_compressed_both_ways)
{
    static char text[5000];
    ensign_call_desc_t d = compressing();
    const ensign_notice_t *n;
    stream_t *s;
    uint32_t k;
    fill_text(text, sizeof text);
    world_create(w);
    d.unary = true;
    d.request = slice_of(text, sizeof text);
    k = call(w, &d);
    s = world_stream(w, 0);
    assert_string_equal(peer_field(s, "grpc-encoding"), "gzip");
    assert_string_equal(peer_field(s, "grpc-accept-encoding"), accepted);
    want_request(w, s, true, text, sizeof text);
    head(s);
    send_patterns(s, 3, 4000, true);
    peer_finish(s, 0, NULL, NULL);
    n = world_reply(w, k, ENSIGN_GRPC_OK);
    assert_true(n->as.reply.decompressed);
    assert_false(n->as.reply.compressed);
    check_pattern(w, n->as.reply.message, 3, 4000);
    world_settle(w);
    check_pattern(w, n->as.reply.message, 3, 4000); /* it stands until the next pull */
}

/* The request may be encoded in place, behind the opener. */
SCRIPT(a_unary_request_that_follows_is_compressed)
{
    static char text[5000];
    ensign_call_desc_t d = compressing();
    uint8_t *room;
    stream_t *s;
    size_t i;
    uint32_t k;
    fill_text(text, sizeof text);
    world_create(w);
    d.unary = d.request_follows = true;
    for (i = 0; i < 2; i++) {
        k = call(w, &d);
        s = world_stream(w, i);
        if (i == 0) {
            assert_int_equal(ensign_call_reserve(w->client, as_call(k), sizeof text, &room), ENSIGN_OK);
            memcpy(room, text, sizeof text);
            assert_int_equal(ensign_call_commit(w->client, as_call(k), sizeof text, 0), ENSIGN_OK);
        } else {
            assert_int_equal(ensign_call_send(w->client, as_call(k), slice_of(text, sizeof text), 0),
                             ENSIGN_OK);
        }
        assert_int_equal(send_text(w, k, "more"), ENSIGN_E_STATE);
        world_until(w, s->half_closed);
        want_request(w, s, true, text, sizeof text);
    }
}

/* An answer that comes as it is, though the request was compressed; and one that is compressed though it was
 * not: each call asks for gzip. */
SCRIPT(each_message_says_how_it_comes)
{
    ensign_call_desc_t d = unary("q");
    const ensign_notice_t *n;
    stream_t *s;
    uint32_t k;
    world_create(w);
    for (size_t i = 0; i < 4; i++) {
        bool compressed = i % 2;
        d.compress = i / 2;
        k = call(w, &d);
        s = world_stream(w, i);
        assert_string_equal(peer_field(s, "grpc-accept-encoding"), accepted);
        if (d.compress) assert_string_equal(peer_field(s, "grpc-encoding"), "gzip");
        else assert_null(peer_field(s, "grpc-encoding"));
        want_request(w, s, false, "q", 1); /* it does not get smaller */
        head(s);
        send_patterns(s, i, 300, compressed);
        peer_finish(s, 0, NULL, NULL);
        n = world_reply(w, k, ENSIGN_GRPC_OK);
        assert_int_equal(n->as.reply.decompressed, compressed);
        check_pattern(w, n->as.reply.message, i, 300);
    }
}

SCRIPT(a_stream_has_messages_of_both_kinds)
{
    static char text[3000];
    ensign_call_desc_t d = compressing();
    const ensign_notice_t *n;
    stream_t *s;
    uint32_t k;
    uint8_t *out;
    fill_text(text, sizeof text);
    world_create(w);
    d.request = slice_of(text, sizeof text);
    k = call(w, &d);
    assert_int_equal(ensign_call_send(w->client, as_call(k), slice_of(text, 1000), ENSIGN_UNCOMPRESSED),
                     ENSIGN_OK);
    assert_int_equal(send_text(w, k, "short"), ENSIGN_OK);
    assert_int_equal(send_text(w, k, ""), ENSIGN_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ensign_call_reserve(w->client, as_call(k), 2500, &out), ENSIGN_OK);
        memcpy(out, text, 2000);
        assert_int_equal(ensign_call_commit(w->client, as_call(k), 2000, i ? ENSIGN_UNCOMPRESSED : 0),
                         ENSIGN_OK);
    }
    assert_int_equal(ensign_call_reserve(w->client, as_call(k), 10, &out), ENSIGN_OK);
    assert_int_equal(ensign_call_commit(w->client, as_call(k), 0, 0), ENSIGN_OK);
    s = world_stream(w, 0);
    want_request(w, s, true, text, sizeof text);
    want_request(w, s, false, text, 1000);
    want_request(w, s, false, "short", 5);
    want_request(w, s, false, "", 0);
    want_request(w, s, true, text, 2000);
    want_request(w, s, false, text, 2000);
    want_request(w, s, false, "", 0);
    head(s);
    send_patterns(s, 0, 2000, true);
    send_patterns(s, 1, 2000, false);
    send_patterns(s, 2, 0, true);
    send_patterns(s, 3, 70000, true);
    world_await(w, k, ENSIGN_NOTICE_HEADERS);
    want_message(w, k, true, 0, 2000);
    want_message(w, k, false, 1, 2000);
    want_message(w, k, true, 2, 0);
    n = world_expect(w, k, ENSIGN_NOTICE_MESSAGE);
    send_patterns(s, 4, 100, true);
    peer_finish(s, 0, NULL, NULL);
    world_settle(w); /* what comes behind it does not move it */
    check_pattern(w, n->as.message.bytes, 3, 70000);
    want_message(w, k, true, 4, 100);
    n = world_expect(w, k, ENSIGN_NOTICE_END);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_OK);
    assert_int_equal(n->as.end.count, 5);
}

/* With a buffer that has no room for a second message as it is. */
SCRIPT(a_full_buffer_says_again_and_later_room)
{
    static char text[3000];
    ensign_call_desc_t d = compressing();
    stream_t *s;
    uint32_t k;
    uint8_t *out;
    fill_text(text, sizeof text);
    world_create(w);
    d.send_buffer_bytes = 3020;
    k = call(w, &d);
    assert_int_equal(ensign_call_send(w->client, as_call(k), slice_of(text, 3000), 0), ENSIGN_OK);
    assert_int_equal(ensign_call_send(w->client, as_call(k), slice_of(text, 3000), 0), ENSIGN_AGAIN);
    assert_int_equal(ensign_call_reserve(w->client, as_call(k), 3000, &out), ENSIGN_AGAIN);
    assert_int_equal(ensign_call_commit(w->client, as_call(k), 3000, 0), ENSIGN_E_STATE);
    world_expect(w, k, ENSIGN_NOTICE_ROOM);
    assert_int_equal(ensign_call_send(w->client, as_call(k), slice_of(text, 2999), 0), ENSIGN_OK);
    s = world_stream(w, 0);
    want_request(w, s, true, text, 3000);
    want_request(w, s, true, text, 2999);
}

/* An attempt that failed is followed by the same bytes. */
SCRIPT(another_attempt_sends_the_same)
{
    static char text[2000];
    ensign_call_desc_t d = compressing();
    stream_t *s;
    uint32_t k;
    fill_text(text, sizeof text);
    world_create(w);
    d.unary = true;
    d.request = slice_of(text, sizeof text);
    d.retry.max_attempts = 2;
    k = call(w, &d);
    s = world_stream(w, 0);
    want_request(w, s, true, text, sizeof text);
    peer_refuse(s, ENSIGN_GRPC_UNAVAILABLE, "busy");
    s = world_stream(w, 1);
    assert_string_equal(peer_field(s, "grpc-encoding"), "gzip");
    want_request(w, s, true, text, sizeof text);
    head(s);
    send_patterns(s, 1, 500, true);
    peer_finish(s, 0, NULL, NULL);
    check_pattern(w, world_reply(w, k, ENSIGN_GRPC_OK)->as.reply.message, 1, 500);
}

/* ------------------------------------------------------------------ what the desc says */
static void want_refused(world_t *w, const ensign_call_desc_t *d, const char *words)
{
    assert_int_equal(ensign_call_open(w->client, d).id, 0);
    assert_int_equal(ensign_error(w->client)->code, ENSIGN_E_ARGUMENT);
    assert_non_null(strstr(ensign_error(w->client)->text, words));
}

SCRIPT(the_caller_s_own_encoding_stays_his)
{
    static const struct { const char *encoding, *accept; bool compress; } rows[] = {
        { "gzip", NULL, false }, { NULL, "gzip", false }, { "gzip", "zstd,gzip", false },
        { NULL, "gzip", true },
    };
    uint8_t *out;
    ensign_call_desc_t d = unary("zipped");
    const ensign_notice_t *n;
    stream_t *s;
    uint32_t k;
    world_create(w);
    for (size_t i = 0; i < COUNT(rows); i++) {
        d.encoding = rows[i].encoding;
        d.accept_encoding = rows[i].accept;
        d.compress = rows[i].compress;
        k = call(w, &d);
        s = world_stream(w, i);
        assert_string_equal(peer_field(s, "grpc-accept-encoding"), rows[i].accept ? rows[i].accept : "gzip");
        assert_text(world_request(w, s), "zipped");
        assert_int_equal(s->in.p[0], rows[i].encoding ? 1 : 0);
        head(s);
        send_as_gzip(s, "xyz", 3);
        peer_finish(s, 0, NULL, NULL);
        n = world_reply(w, k, ENSIGN_GRPC_OK);
        assert_true(n->as.reply.compressed);
        assert_false(n->as.reply.decompressed);
        assert_text(n->as.reply.message, "xyz");
    }
    d = streaming(); /* one that takes nothing that is compressed, and sends none */
    d.accept_encoding = "identity";
    k = call(w, &d);
    assert_int_equal(ensign_call_reserve(w->client, as_call(k), 40, &out), ENSIGN_OK);
    memset(out, 'x', 40);
    assert_int_equal(ensign_call_commit(w->client, as_call(k), 40, 0), ENSIGN_OK);
    s = world_stream(w, COUNT(rows));
    assert_string_equal(peer_field(s, "grpc-accept-encoding"), "identity");
    assert_null(peer_field(s, "grpc-encoding"));
    assert_text(world_request(w, s), "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    assert_int_equal(s->in.p[0], 0);
    head(s);
    send_patterns(s, 0, 100, true);
    assert_int_equal(world_end(w, k, ENSIGN_GRPC_INTERNAL)->as.end.count, 0);
}

SCRIPT(what_contradicts_itself_is_refused)
{
    ensign_call_desc_t d = compressing();
    uint8_t *out;
    uint32_t k;
    world_create(w);
    d.encoding = "gzip";
    want_refused(w, &d, "compress and encoding are both set");
    d.compress = false;
    k = call(w, &d);
    assert_int_equal(
        ensign_call_send(w->client, as_call(k), text_slice("x"), ENSIGN_COMPRESSED | ENSIGN_UNCOMPRESSED),
        ENSIGN_E_ARGUMENT);
    assert_int_equal(ensign_call_send(w->client, as_call(k), text_slice("x"), ENSIGN_UNCOMPRESSED),
                     ENSIGN_OK);
    d = compressing();
    k = call(w, &d);
    assert_int_equal(ensign_call_send(w->client, as_call(k), text_slice("x"), ENSIGN_COMPRESSED),
                     ENSIGN_E_ARGUMENT);
    assert_int_equal(ensign_call_reserve(w->client, as_call(k), 10, &out), ENSIGN_OK);
    assert_int_equal(ensign_call_commit(w->client, as_call(k), 10, ENSIGN_COMPRESSED), ENSIGN_E_ARGUMENT);
    memset(out, 'x', 10);
    assert_int_equal(ensign_call_commit(w->client, as_call(k), 10, 0), ENSIGN_OK);
    assert_int_equal(ensign_call_commit(w->client, as_call(k), 10, 0), ENSIGN_E_STATE);
}

/* max_send_bytes counts before, max_message_bytes after; the one message larger than the buffer is taken. */
SCRIPT(limits_are_those_of_plain_messages)
{
    static char text[20001];
    ensign_call_desc_t d = compressing();
    stream_t *s;
    uint32_t k;
    fill_text(text, sizeof text);
    world_create(w);
    d.send_buffer_bytes = 1024;
    d.max_send_bytes = 20000;
    d.max_message_bytes = 20000;
    k = call(w, &d);
    assert_int_equal(ensign_call_send(w->client, as_call(k), slice_of(text, 20001), 0), ENSIGN_E_TOO_LARGE);
    assert_int_equal(ensign_call_send(w->client, as_call(k), slice_of(text, 20000), 0), ENSIGN_OK);
    s = world_stream(w, 0);
    want_request(w, s, true, text, 20000);
    head(s);
    send_patterns(s, 0, 20000, true);
    world_await(w, k, ENSIGN_NOTICE_HEADERS);
    want_message(w, k, true, 0, 20000);
    send_patterns(s, 1, 20001, true);
    assert_int_equal(world_expect(w, k, ENSIGN_NOTICE_END)->as.end.status, ENSIGN_GRPC_RESOURCE_EXHAUSTED);
}

/* ------------------------------------------------------------------ what cannot be decompressed */
typedef enum { CUT, EMPTY, BEHIND, CRC, LENGTH, PLAIN, BOMB, OTHER, IDENTITY, NONE, FLAG, FAULTS } fault_t;

static const struct { const char *encoding, *words; int status; } faults[FAULTS] = {
    [CUT] = { "gzip", "cannot be decompressed: it is cut short", ENSIGN_GRPC_INTERNAL },
    [EMPTY] = { "gzip", "cannot be decompressed: it is cut short", ENSIGN_GRPC_INTERNAL },
    [BEHIND] = { "gzip", "cannot be decompressed: it has bytes behind its end", ENSIGN_GRPC_INTERNAL },
    [CRC] = { "gzip", "cannot be decompressed: incorrect data check", ENSIGN_GRPC_INTERNAL },
    [LENGTH] = { "gzip", "cannot be decompressed: incorrect length check", ENSIGN_GRPC_INTERNAL },
    [PLAIN] = { "gzip", "cannot be decompressed: incorrect header check", ENSIGN_GRPC_INTERNAL },
    [BOMB] = { "gzip", "more than 10000 when it is decompressed; raise max_message_bytes",
               ENSIGN_GRPC_RESOURCE_EXHAUSTED },
    [OTHER] = { "deflate", "flag 1, though no compression was agreed", ENSIGN_GRPC_INTERNAL },
    [IDENTITY] = { "identity", "flag 1, though no compression was agreed", ENSIGN_GRPC_INTERNAL },
    [NONE] = { NULL, "flag 1, though no compression was agreed", ENSIGN_GRPC_INTERNAL },
    [FLAG] = { "gzip", "flag 2, though no compression was agreed", ENSIGN_GRPC_INTERNAL },
};

static void send_fault(stream_t *s, fault_t fault)
{
    static uint8_t zeros[300000];
    bytes_t b = {0};
    gzip_add(&b, zeros, fault == BOMB ? sizeof zeros : 700);
    if (fault == CUT) b.len--;
    if (fault == EMPTY) b.len = 0;
    if (fault == BEHIND) bytes_add(&b, "x", 1);
    if (fault == CRC) b.p[b.len - 8] ^= 1;
    if (fault == LENGTH) b.p[b.len - 1] ^= 0x80;
    if (fault == PLAIN) b.p[0] = 'x';
    peer_prefix(s, fault == FLAG ? 2 : 1, b.len);
    peer_raw(s, b.p, b.len);
    bytes_free(&b);
}

static void open_with(stream_t *s, fault_t fault)
{
    const char *encoding = faults[fault].encoding;
    if (encoding) peer_headers(s, "200", "content-type", "application/grpc", "grpc-encoding", encoding, NULL);
    else peer_open(s);
}

static void want_fault(world_t *w, const ensign_notice_t *n, int status, bool from_server, fault_t fault)
{
    if (status != faults[fault].status || from_server || !n->error || !n->last)
        world_fail(w, "fault %d: status %d", (int)fault, status);
    if (!strstr(n->error->text, faults[fault].words))
        world_fail(w, "fault %d: '%s'", (int)fault, n->error->text);
    assert_int_equal(n->error->code,
                     faults[fault].status == ENSIGN_GRPC_INTERNAL ? ENSIGN_E_INTERNAL : ENSIGN_E_TOO_LARGE);
}

/* Behind a message that is good. The server could still send: the stream is reset, and the connection serves
 * on. */
SCRIPT(a_stream_ends_at_a_bad_message)
{
    ensign_call_desc_t d = streaming();
    const ensign_notice_t *n;
    world_create(w);
    d.max_message_bytes = 10000;
    for (int i = 0; i < FAULTS; i++) {
        uint32_t k = call(w, &d);
        stream_t *s = world_stream(w, (size_t)i);
        open_with(s, (fault_t)i);
        send_patterns(s, 1, 100, false);
        send_fault(s, (fault_t)i);
        send_patterns(s, 2, 100, false);
        world_await(w, k, ENSIGN_NOTICE_HEADERS);
        want_message(w, k, false, 1, 100);
        n = world_expect(w, k, ENSIGN_NOTICE_END);
        want_fault(w, n, n->as.end.status, n->as.end.from_server, (fault_t)i);
        assert_int_equal(n->as.end.count, 1);
        world_until(w, s->reset);
    }
    assert_int_equal(w->dials[ENSIGN_LINK_RPC], 1);
    assert_in_range(w->live_peak, 1, ensign_memory_bound(&w->desc) + ensign_call_memory_bound(&d));
}

/* The server has said OK already: the client knows better. */
SCRIPT(an_end_is_no_better_than_the_last_message)
{
    ensign_call_desc_t d = streaming();
    const ensign_notice_t *n;
    world_create(w);
    d.max_message_bytes = 10000;
    for (int i = 0; i < FAULTS; i++) {
        uint32_t k = call(w, &d);
        stream_t *s = world_stream(w, (size_t)i);
        open_with(s, (fault_t)i);
        send_fault(s, (fault_t)i);
        peer_finish(s, 0, NULL, NULL);
        world_settle(w);
        world_await(w, k, ENSIGN_NOTICE_HEADERS);
        n = world_expect(w, k, ENSIGN_NOTICE_END);
        want_fault(w, n, n->as.end.status, n->as.end.from_server, (fault_t)i);
        world_silent(w, k);
    }
}

SCRIPT(a_unary_call_has_no_bad_answer)
{
    ensign_call_desc_t d = unary("q");
    const ensign_notice_t *n;
    world_create(w);
    d.max_message_bytes = 10000;
    d.retry.max_attempts = 3;
    d.retry.statuses = 1u << ENSIGN_GRPC_INTERNAL;
    for (int i = 0; i < FAULTS; i++) {
        uint32_t k = call(w, &d);
        stream_t *s = world_stream(w, (size_t)i);
        open_with(s, (fault_t)i);
        send_fault(s, (fault_t)i);
        peer_finish(s, 0, NULL, NULL);
        n = world_reply(w, k, faults[i].status);
        want_fault(w, n, n->as.reply.status, n->as.reply.from_server, (fault_t)i);
        assert_false(n->as.reply.decompressed);
        assert_int_equal(n->as.reply.attempts, 1);
    }
}

/* The server's error counts, whatever its message is worth. */
SCRIPT(an_error_needs_no_message)
{
    ensign_call_desc_t d = unary("q");
    const ensign_notice_t *n;
    stream_t *s;
    uint32_t k;
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    head(s);
    send_fault(s, CRC);
    peer_finish(s, ENSIGN_GRPC_NOT_FOUND, "no such thing", NULL);
    n = world_reply(w, k, ENSIGN_GRPC_NOT_FOUND);
    assert_true(n->as.reply.from_server);
    assert_false(n->as.reply.decompressed);
}

/* What is queued and not pulled is dropped, broken or not. */
SCRIPT(a_cancelled_call_decompresses_nothing)
{
    ensign_call_desc_t d = streaming();
    stream_t *s;
    uint32_t k;
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    head(s);
    send_fault(s, CRC);
    world_settle(w);
    assert_int_equal(ensign_cancel(w->client, k), ENSIGN_OK);
    assert_int_equal(world_expect(w, k, ENSIGN_NOTICE_END)->as.end.status, ENSIGN_GRPC_CANCELLED);
    k = call(w, &d);
    s = world_stream(w, 1);
    head(s);
    send_fault(s, CRC);
    world_settle(w);
    assert_int_equal(ensign_forget(w->client, k), ENSIGN_OK);
    world_silent(w, k);
}

/* The service's own calls ask for no compression, and have it in every case as it was. */
SCRIPT(the_service_is_asked_for_plain_messages)
{
    ensign_subscription_desc_t sd;
    ensign_query_desc_t qd;
    world_create(w);
    memset(&sd, 0, sizeof sd);
    memset(&qd, 0, sizeof qd);
    qd.sql = "SELECT * FROM weather";
    assert_int_not_equal(ensign_subscription_open(w->client, &sd).id, 0);
    assert_null(peer_field(world_stream(w, 0), "grpc-accept-encoding"));
    assert_int_not_equal(ensign_query_open(w->client, &qd).id, 0);
    assert_null(peer_field(world_stream(w, 1), "grpc-accept-encoding"));
}

/* ------------------------------------------------------------------ memory */

/* Large messages in both directions, decompressed and lent while the next one comes in; and many calls, which
 * share zlib's states. */
SCRIPT(memory_is_within_the_bounds)
{
    enum { LARGE = 200000, CALLS = 12 };
    static char text[LARGE];
    ensign_call_desc_t d = compressing();
    uint32_t k[CALLS];
    stream_t *s;
    uint8_t *out;
    size_t bound;
    fill_text(text, sizeof text);
    world_create(w);
    d.window_bytes = d.send_buffer_bytes = 4096;
    d.max_message_bytes = d.max_send_bytes = LARGE;
    bound = ensign_memory_bound(&w->desc) + CALLS * ensign_call_memory_bound(&d);
    for (size_t i = 0; i < CALLS; i++) {
        k[i] = call(w, &d);
        assert_int_equal(ensign_call_reserve(w->client, as_call(k[i]), LARGE, &out), ENSIGN_OK);
        memcpy(out, text, LARGE);
        assert_int_equal(ensign_call_commit(w->client, as_call(k[i]), LARGE, 0), ENSIGN_OK);
    }
    for (size_t i = 0; i < CALLS; i++) {
        s = world_stream(w, i);
        want_request(w, s, true, text, LARGE);
        head(s);
        for (size_t m = 0; m < 3; m++) send_patterns(s, m, LARGE, true);
    }
    for (size_t i = 0; i < CALLS; i++) {
        world_await(w, k[i], ENSIGN_NOTICE_HEADERS);
        for (size_t m = 0; m < 3; m++) want_message(w, k[i], true, m, LARGE);
    }
    assert_in_range(w->live_peak, 1, bound);
    assert_true(w->live_peak > bound / 4); /* nor is it a fairy tale */
}

/* One call, whose bound is not that of twelve: with a message in each of its buffers, and zlib's states. */
SCRIPT(a_call_is_within_its_own_bound)
{
    enum { LARGE = 200000 };
    static char text[LARGE];
    ensign_call_desc_t d = compressing();
    const ensign_notice_t *n;
    size_t before;
    uint8_t *out;
    stream_t *s;
    uint32_t k;
    fill_text(text, sizeof text);
    warm(w);
    before = w->live;
    d.window_bytes = d.send_buffer_bytes = 4096;
    d.max_message_bytes = d.max_send_bytes = LARGE;
    k = call(w, &d);
    s = world_stream(w, 1);
    head(s);
    send_patterns(s, 0, LARGE, true);
    world_await(w, k, ENSIGN_NOTICE_HEADERS);
    n = world_expect(w, k, ENSIGN_NOTICE_MESSAGE);
    peer_prefix(s, 1, LARGE); /* what comes behind it is as large as it may be, and not whole */
    peer_raw(s, text, LARGE - 1);
    assert_int_equal(ensign_call_reserve(w->client, as_call(k), LARGE, &out), ENSIGN_OK);
    memcpy(out, text, LARGE);
    assert_int_equal(ensign_call_commit(w->client, as_call(k), LARGE, 0), ENSIGN_OK);
    world_settle(w);
    check_pattern(w, n->as.message.bytes, 0, LARGE);
    assert_in_range(w->live_peak - before, 4 * LARGE, ensign_call_memory_bound(&d) + ENSI_GZIP_BYTES);
}

/* Messages of the usual size take nothing, once they flow; a large one gives back what it took. */
SCRIPT(what_flows_allocates_nothing)
{
    static char text[3000];
    ensign_call_desc_t d = compressing();
    stream_t *s;
    size_t live = 0;
    uint64_t calls = 0;
    uint32_t k;
    uint8_t *out;
    fill_text(text, sizeof text);
    world_create(w);
    d.window_bytes = d.send_buffer_bytes = 8192;
    k = call(w, &d);
    s = world_stream(w, 0);
    head(s);
    world_await(w, k, ENSIGN_NOTICE_HEADERS);
    send_patterns(s, 1, 100000, true); /* zlib takes its window for the first one that is not done in one go */
    want_message(w, k, true, 1, 100000);
    for (size_t i = 0; i < 60; i++) {
        if (i == 20) calls = w->calls;
        if (i == 20) live = w->live;
        assert_int_equal(ensign_call_reserve(w->client, as_call(k), sizeof text, &out), ENSIGN_OK);
        memcpy(out, text, sizeof text);
        assert_int_equal(ensign_call_commit(w->client, as_call(k), sizeof text, 0), ENSIGN_OK);
        want_request(w, s, true, text, sizeof text);
        send_patterns(s, i, 8000 - i, true);
        want_message(w, k, true, i, 8000 - i);
    }
    assert_int_equal(w->calls, calls);
    send_patterns(s, 1, 100000, true);
    want_message(w, k, true, 1, 100000);
    assert_int_equal(ensign_call_reserve(w->client, as_call(k), 20000, &out), ENSIGN_OK);
    assert_int_equal(ensign_call_commit(w->client, as_call(k), 0, 0), ENSIGN_OK);
    want_request(w, s, false, "", 0);
    send_patterns(s, 2, 100, true);
    want_message(w, k, true, 2, 100);
    assert_int_equal(ensign_call_send(w->client, as_call(k), text_slice("x"), 0), ENSIGN_OK);
    assert_int_equal(ensign_call_reserve(w->client, as_call(k), 10, &out), ENSIGN_OK);
    assert_int_equal(ensign_call_commit(w->client, as_call(k), 10, 0), ENSIGN_OK);
    world_settle(w);
    assert_in_range(w->live, live - 8192, live + 200);
}

/* Both of zlib's states are taken when they are needed first, and serve every call from then on. */
SCRIPT(zlib_is_taken_once)
{
    ensign_call_desc_t d = unary("q");
    stream_t *s;
    size_t live[5];
    uint32_t k;
    world_create(w);
    for (size_t i = 0; i < COUNT(live); i++) {
        d.compress = i > 2;
        k = call(w, &d);
        s = world_stream(w, i);
        head(s);
        send_patterns(s, i, 300, i > 0);
        peer_finish(s, 0, NULL, NULL);
        world_reply(w, k, ENSIGN_GRPC_OK);
        world_silent(w, k);
        live[i] = w->live;
    }
    assert_in_range(live[1], live[0] + 6000, live[0] + 65536); /* to decompress */
    assert_int_equal(live[2], live[1]);
    assert_in_range(live[3], live[2] + 200000, live[0] + ENSI_GZIP_BYTES); /* to compress */
    assert_int_equal(live[4], live[3]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_MODES(a_unary_call_is_compressed_both_ways), IN_MODES(a_unary_request_that_follows_is_compressed),
        IN_MODES(each_message_says_how_it_comes),
        IN_MODES(a_stream_has_messages_of_both_kinds), IN_MODES(a_full_buffer_says_again_and_later_room),
        IN_MODES(another_attempt_sends_the_same), IN_MODES(the_caller_s_own_encoding_stays_his),
        IN_MODES(what_contradicts_itself_is_refused), IN_MODES(limits_are_those_of_plain_messages),
        IN_MODES(a_stream_ends_at_a_bad_message), IN_MODES(an_end_is_no_better_than_the_last_message),
        IN_MODES(a_unary_call_has_no_bad_answer), IN_MODES(an_error_needs_no_message),
        IN_MODES(a_cancelled_call_decompresses_nothing), IN_MODES(the_service_is_asked_for_plain_messages),
        IN_MODES(memory_is_within_the_bounds), IN_MODES(a_call_is_within_its_own_bound),
        IN_MODES(what_flows_allocates_nothing), IN_MODES(zlib_is_taken_once),
    };
    return cmocka_run_group_tests_name("gzip", tests, NULL, NULL);
}
