/* client.c - the client side of gRPC's interop suite, through the public gRPC layer of ensign.h
 *
 *   client LABEL [CASE...]
 *
 * Without a CASE those run that grpc-go's interop server knows: a case of compression has to be named. The
 * server is told by ENSIGN_ENDPOINT and ENSIGN_INSECURE or ENSIGN_CA_FILE. Prints one line a case,
 * "ok N - empty_unary (LABEL)", and after a failed one a line that says what was seen. What each case does
 * and wants is gRPC's own description of its interop tests; the numbers below are from there.
 */
#define ENSIGN_GZIP
#define ENSIGN_IMPLEMENTATION
#include "ensign.h"

#include <pb_decode.h>
#include <pb_encode.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "interop.pb.h"

#define SERVICE "/grpc.testing.TestService/"
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum {
    WAIT_MS = 20000,            /* for one notice, then the case has failed */
    LARGE_REQUEST = 271828,
    LARGE_ANSWER = 314159,
    REQUEST_SUM = 74922,        /* of request_sizes */
    COMPRESSED_SUM = 73086,     /* of the two requests of client_compressed_streaming */
    RPC_SOAK = 100,             /* calls on one connection */
    CHANNEL_SOAK = 25,          /* calls, each on a connection of its own */
    IN_PLACE_MAX = 48 * 1024    /* larger messages than this go by copy, so that both ways are used */
};

static const int request_sizes[4] = { 27182, 8, 1828, 45904 };
static const int answer_sizes[4] = { 31415, 9, 2653, 58979 };
static const char status_message[] = "test status message";
static const char special_message[] =
    "\t\ntest with whitespace\r\nand Unicode BMP \xE2\x98\xBA and non-BMP \xF0\x9F\x98\x88\t\n";
static const char initial_key[] = "x-grpc-test-echo-initial", initial_value[] = "test_initial_metadata_value";
static const char trailing_key[] = "x-grpc-test-echo-trailing-bin";
static const uint8_t trailing_value[3] = { 0xAB, 0xAB, 0xAB };

typedef struct run_t {
    ensign_desc_t desc;
    ensign_t *c;
    ensign_call_t k;            /* of the case that runs */
    char why[400];              /* its first failure; empty: none */
    uint8_t bytes[LARGE_REQUEST + 1024];
} run_t;

/* What came back on one call, END included. */
typedef struct answer_t {
    unsigned messages;
    size_t sizes[8];            /* of the bodies, as far as they fit */
    bool compressed[8];         /* did they come so? */
    int32_t sum;                /* StreamingInputCall's answer */
    bool initial_echoed, trailing_echoed;
    int status;
    bool from_server;
    char text[256];
    char error[256];            /* the whole story, where it was not the server that ended the call */
} answer_t;

static bool fail(run_t *r, const char *format, ...)
{
    va_list args;
    if (r->why[0]) return false;
    va_start(args, format);
    vsnprintf(r->why, sizeof r->why, format, args);
    va_end(args);
    return false;
}

/* What a function of ensign.h gave back must be OK. */
static bool want_ok(run_t *r, const char *what, int rc)
{
    if (rc == ENSIGN_OK) return true;
    return fail(r, "%s gave %s: %s", what, ensign_result_name(rc), ensign_error(r->c)->text);
}

/* ------------------------------------------------------------------ messages */
typedef struct body_t { size_t size; bool zeros; } body_t;

static bool write_body(pb_ostream_t *out, const pb_field_t *field, void *const *arg)
{
    static const uint8_t zeros[1024];
    size_t left = *(const size_t *)*arg;

    if (left == 0) return true;
    if (!pb_encode_tag_for_field(out, field) || !pb_encode_varint(out, left)) return false;
    for (; left > sizeof zeros; left -= sizeof zeros)
        if (!pb_write(out, zeros, sizeof zeros)) return false;
    return pb_write(out, zeros, left);
}

static bool read_body(pb_istream_t *in, const pb_field_t *field, void **arg)
{
    body_t *body = *arg;
    uint8_t b;

    (void)field;
    body->size = in->bytes_left;
    while (in->bytes_left > 0) {
        if (!pb_read(in, &b, 1)) return false;
        body->zeros &= b == 0;
    }
    return true;
}

static interop_Payload payload_of(const size_t *size)
{
    interop_Payload p = interop_Payload_init_zero;
    p.body.funcs.encode = write_body;
    p.body.arg = (void *)(uintptr_t)size;       /* only read, by write_body */
    return p;
}

static bool encode(run_t *r, const pb_msgdesc_t *fields, const void *message, ensign_slice_t *out)
{
    pb_ostream_t s = pb_ostream_from_buffer(r->bytes, sizeof r->bytes);
    if (!pb_encode(&s, fields, message)) return fail(r, "the request: %s", PB_GET_ERROR(&s));
    out->ptr = r->bytes;
    out->len = s.bytes_written;
    return true;
}

/* All answers that have a body have it in field 1: SimpleResponse serves for StreamingOutputCall's too. */
static bool read_answer(run_t *r, ensign_slice_t bytes, answer_t *a)
{
    interop_SimpleResponse m = interop_SimpleResponse_init_zero;
    pb_istream_t s = pb_istream_from_buffer(bytes.ptr, bytes.len);
    body_t body = { 0, true };

    m.payload.body.funcs.decode = read_body;
    m.payload.body.arg = &body;
    if (!pb_decode(&s, interop_SimpleResponse_fields, &m))
        return fail(r, "message %u does not decode: %s", a->messages, PB_GET_ERROR(&s));
    if (m.payload.type != 0) return fail(r, "message %u has type %d", a->messages, (int)m.payload.type);
    if (!body.zeros) return fail(r, "the body of message %u is not all zeros", a->messages);
    if (a->messages < COUNT(a->sizes)) a->sizes[a->messages] = body.size;
    return true;
}

static bool read_sum(run_t *r, ensign_slice_t bytes, answer_t *a)
{
    interop_StreamingInputCallResponse m = interop_StreamingInputCallResponse_init_zero;
    pb_istream_t s = pb_istream_from_buffer(bytes.ptr, bytes.len);
    if (!pb_decode(&s, interop_StreamingInputCallResponse_fields, &m))
        return fail(r, "the sum does not decode: %s", PB_GET_ERROR(&s));
    a->sum = m.aggregated_payload_size;
    return true;
}

/* ------------------------------------------------------------------ calls */
static bool open_call(run_t *r, ensign_call_desc_t *d, const char *method)
{
    d->method = method;
    r->k = ensign_call_open(r->c, d);
    return r->k.id != 0 || fail(r, "open %s: %s", method, ensign_error(r->c)->text);
}

static const ensign_notice_t *await(run_t *r)
{
    const ensign_notice_t *n = NULL;
    return want_ok(r, "await", ensign_await(r->c, r->k.id, WAIT_MS, &n)) ? n : NULL;
}

static bool fail_end(run_t *r, const ensign_notice_t *n, const char *instead)
{
    return fail(r, "END with status %d (%s) instead of %s", n->as.end.status,
                n->error ? n->error->text : "no error", instead);
}

static bool await_room(run_t *r)
{
    for (;;) {
        const ensign_notice_t *n = await(r);
        if (!n) return false;
        if (n->type == ENSIGN_NOTICE_ROOM) return true;
        if (n->type == ENSIGN_NOTICE_END) return fail_end(r, n, "ROOM");
        if (n->type != ENSIGN_NOTICE_HEADERS) return fail(r, "notice %d instead of ROOM", (int)n->type);
    }
}

/* Small messages are encoded into the call's own buffer, large ones are handed over. */
static int try_send(run_t *r, const pb_msgdesc_t *fields, const void *message, size_t size, int flags)
{
    ensign_slice_t whole;
    pb_ostream_t s;
    uint8_t *at;
    int rc;

    if (size > IN_PLACE_MAX) {
        if (!encode(r, fields, message, &whole)) return ENSIGN_E_FORMAT;
        return ensign_call_send(r->c, r->k, whole, flags);
    }
    rc = ensign_call_reserve(r->c, r->k, size, &at);
    if (rc != ENSIGN_OK) return rc;
    s = pb_ostream_from_buffer(at, size);
    if (!pb_encode(&s, fields, message)) return ENSIGN_E_FORMAT;
    return ensign_call_commit(r->c, r->k, s.bytes_written, flags);
}

static bool send_with(run_t *r, const pb_msgdesc_t *fields, const void *message, int flags)
{
    size_t size = 0;
    int rc;

    if (!pb_get_encoded_size(&size, fields, message)) return fail(r, "the request has no size");
    while ((rc = try_send(r, fields, message, size, flags)) == ENSIGN_AGAIN)
        if (!await_room(r)) return false;
    return want_ok(r, "sending", rc);
}

static bool send_message(run_t *r, const pb_msgdesc_t *fields, const void *message)
{
    return send_with(r, fields, message, 0);
}

static bool half_close(run_t *r)
{
    return want_ok(r, "half-close", ensign_call_half_close(r->c, r->k));
}

static bool echoed(run_t *r, int which, const char *key, const void *want, size_t len)
{
    ensign_slice_t value;
    if (!ensign_call_metadata_get(r->c, r->k, which, key, &value)) return false;
    return value.len == len && memcmp(value.ptr, want, len) == 0;
}

typedef bool (*reader_t)(run_t *r, ensign_slice_t bytes, answer_t *a);

static void take_headers(run_t *r, answer_t *a)
{
    a->initial_echoed = echoed(r, ENSIGN_HEADERS, initial_key, initial_value, strlen(initial_value));
}

/* What END and REPLY have in common. */
static void take_status(run_t *r, const ensign_notice_t *n, ensign_slice_t text, answer_t *a)
{
    a->trailing_echoed = echoed(r, ENSIGN_TRAILERS, trailing_key, trailing_value, sizeof trailing_value);
    snprintf(a->text, sizeof a->text, "%.*s", (int)text.len, (const char *)text.ptr);
    snprintf(a->error, sizeof a->error, "%s", n->error ? n->error->text : "no error");
    if (!n->last) fail(r, "%s is not marked as the last notice", ensign_notice_name(n->type));
    if ((a->status == ENSIGN_GRPC_OK) != (n->error == NULL))
        fail(r, "status %d goes with the error '%s'", a->status, a->error);
}

static void take_end(run_t *r, const ensign_notice_t *n, answer_t *a)
{
    a->status = n->as.end.status;
    a->from_server = n->as.end.from_server;
    take_status(r, n, n->as.end.text, a);
}

static void note_form(answer_t *a, bool compressed)
{
    if (a->messages < COUNT(a->compressed)) a->compressed[a->messages] = compressed;
}

/* Takes notices until one message more is there (true) or the call has ended (false). */
static bool take_message(run_t *r, answer_t *a, reader_t reader)
{
    const ensign_notice_t *n;

    while ((n = await(r)) != NULL) {
        switch (n->type) {
        case ENSIGN_NOTICE_HEADERS:
            take_headers(r, a);
            break;
        case ENSIGN_NOTICE_MESSAGE:
            note_form(a, n->as.message.decompressed);
            if (reader && !reader(r, n->as.message.bytes, a)) return false;
            a->messages++;
            return true;
        case ENSIGN_NOTICE_ROOM:
            break;
        case ENSIGN_NOTICE_END:
            take_end(r, n, a);
            return false;
        default:
            return fail(r, "notice %d on a call", (int)n->type);
        }
    }
    return false;
}

static void take_all(run_t *r, answer_t *a, reader_t reader)
{
    while (take_message(r, a, reader)) {
    }
}

static bool want_status(run_t *r, const answer_t *a, int status, unsigned messages)
{
    if (a->status != status) return fail(r, "status %d (%s), wanted %d", a->status, a->error, status);
    if (a->messages != messages) return fail(r, "%u messages, wanted %u", a->messages, messages);
    return true;
}

static bool want_sizes(run_t *r, const answer_t *a, const int *sizes, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (a->sizes[i] != (size_t)sizes[i])
            return fail(r, "body %u has %zu bytes, wanted %d", i, a->sizes[i], sizes[i]);
    return true;
}

/* ------------------------------------------------------------------ the cases */
/* A unary call has one notice, REPLY, with all that there is. */
static void unary(run_t *r, const char *method, ensign_call_desc_t *d, answer_t *a, reader_t reader)
{
    const ensign_notice_t *n;

    d->unary = true;
    if (!open_call(r, d, method) || (n = await(r)) == NULL) return;
    if (n->type != ENSIGN_NOTICE_REPLY) {
        fail(r, "%s instead of REPLY", ensign_notice_name(n->type));
        return;
    }
    a->status = n->as.reply.status;
    a->from_server = n->as.reply.from_server;
    take_headers(r, a);
    take_status(r, n, n->as.reply.text, a);
    if (a->status != ENSIGN_GRPC_OK) return;
    note_form(a, n->as.reply.decompressed);
    if (!reader || reader(r, n->as.reply.message, a)) a->messages++;
}

static void unary_simple(run_t *r, const interop_SimpleRequest *m, ensign_call_desc_t *d, answer_t *a)
{
    if (encode(r, interop_SimpleRequest_fields, m, &d->request))
        unary(r, SERVICE "UnaryCall", d, a, read_answer);
}

static void empty_unary(run_t *r)
{
    ensign_call_desc_t d = { 0 };
    answer_t a = { 0 };
    unary(r, SERVICE "EmptyCall", &d, &a, NULL);
    want_status(r, &a, ENSIGN_GRPC_OK, 1);
}

static void large_unary(run_t *r)
{
    const size_t size = LARGE_REQUEST;
    const int want = LARGE_ANSWER;
    interop_SimpleRequest m = interop_SimpleRequest_init_zero;
    ensign_call_desc_t d = { 0 };
    answer_t a = { 0 };

    m.response_size = want;
    m.has_payload = true;
    m.payload = payload_of(&size);
    unary_simple(r, &m, &d, &a);
    if (want_status(r, &a, ENSIGN_GRPC_OK, 1)) want_sizes(r, &a, &want, 1);
}

static void client_streaming(run_t *r)
{
    ensign_call_desc_t d = { 0 };
    answer_t a = { 0 };

    if (!open_call(r, &d, SERVICE "StreamingInputCall")) return;
    for (int i = 0; i < 4; i++) {
        const size_t size = (size_t)request_sizes[i];
        interop_StreamingInputCallRequest m = interop_StreamingInputCallRequest_init_zero;
        m.has_payload = true;
        m.payload = payload_of(&size);
        if (!send_message(r, interop_StreamingInputCallRequest_fields, &m)) return;
    }
    if (!half_close(r)) return;
    take_all(r, &a, read_sum);
    if (want_status(r, &a, ENSIGN_GRPC_OK, 1) && a.sum != REQUEST_SUM)
        fail(r, "the server counted %d bytes, wanted %d", (int)a.sum, REQUEST_SUM);
}

static void server_streaming(run_t *r)
{
    interop_StreamingOutputCallRequest m = interop_StreamingOutputCallRequest_init_zero;
    ensign_call_desc_t d = { 0 };
    answer_t a = { 0 };

    m.response_parameters_count = 4;
    for (int i = 0; i < 4; i++) m.response_parameters[i].size = answer_sizes[i];
    if (!open_call(r, &d, SERVICE "StreamingOutputCall")) return;
    if (!send_message(r, interop_StreamingOutputCallRequest_fields, &m) || !half_close(r)) return;
    take_all(r, &a, read_answer);
    if (want_status(r, &a, ENSIGN_GRPC_OK, 4)) want_sizes(r, &a, answer_sizes, 4);
}

/* One request of FullDuplexCall; answer 0: none is asked for. */
static bool send_ping(run_t *r, int request, int answer)
{
    const size_t size = (size_t)request;
    interop_StreamingOutputCallRequest m = interop_StreamingOutputCallRequest_init_zero;

    if (answer > 0) {
        m.response_parameters_count = 1;
        m.response_parameters[0].size = answer;
    }
    m.has_payload = true;
    m.payload = payload_of(&size);
    return send_message(r, interop_StreamingOutputCallRequest_fields, &m);
}

static void ping_pong(run_t *r)
{
    ensign_call_desc_t d = { 0 };
    answer_t a = { 0 };

    if (!open_call(r, &d, SERVICE "FullDuplexCall")) return;
    for (int i = 0; i < 4; i++) {
        if (!send_ping(r, request_sizes[i], answer_sizes[i])) return;
        if (!take_message(r, &a, read_answer)) {
            fail(r, "END with status %d (%s) instead of answer %d", a.status, a.error, i);
            return;
        }
    }
    if (!half_close(r)) return;
    take_all(r, &a, read_answer);
    if (want_status(r, &a, ENSIGN_GRPC_OK, 4)) want_sizes(r, &a, answer_sizes, 4);
}

static void empty_stream(run_t *r)
{
    ensign_call_desc_t d = { 0 };
    answer_t a = { 0 };

    if (!open_call(r, &d, SERVICE "FullDuplexCall") || !half_close(r)) return;
    take_all(r, &a, read_answer);
    want_status(r, &a, ENSIGN_GRPC_OK, 0);
}

static void timeout_on_sleeping_server(run_t *r)
{
    ensign_call_desc_t d = { 0 };
    answer_t a = { 0 };

    d.deadline_ms = 1;
    if (!open_call(r, &d, SERVICE "FullDuplexCall") || !send_ping(r, request_sizes[0], 0)) return;
    take_all(r, &a, read_answer);
    want_status(r, &a, ENSIGN_GRPC_DEADLINE_EXCEEDED, 0);
}

/* Steps until the connection has written something more: the headers of the call that was just opened. */
static bool written(run_t *r, uint64_t before)
{
    ensign_stats_t s;
    for (int i = 0; i < 100; i++) {
        ensign_wait(r->c, NULL, 0, 10);
        if (!want_ok(r, "stats", ensign_stats(r->c, ENSIGN_CLIENT, &s))) return false;
        if (s.bytes_out > before) return true;
    }
    return fail(r, "the headers did not leave in a second");
}

static void cancel_after_begin(run_t *r)
{
    ensign_call_desc_t d = { 0 };
    ensign_stats_t s;
    answer_t a = { 0 };

    if (!want_ok(r, "stats", ensign_stats(r->c, ENSIGN_CLIENT, &s))) return;
    if (!open_call(r, &d, SERVICE "StreamingInputCall") || !written(r, s.bytes_out)) return;
    want_ok(r, "cancel", ensign_cancel(r->c, r->k.id));
    take_all(r, &a, read_sum);
    want_status(r, &a, ENSIGN_GRPC_CANCELLED, 0);
}

static void cancel_after_first_response(run_t *r)
{
    ensign_call_desc_t d = { 0 };
    answer_t a = { 0 };

    if (!open_call(r, &d, SERVICE "FullDuplexCall")) return;
    if (!send_ping(r, request_sizes[0], answer_sizes[0])) return;
    if (!take_message(r, &a, read_answer)) {
        fail(r, "END with status %d (%s) instead of an answer", a.status, a.error);
        return;
    }
    want_ok(r, "cancel", ensign_cancel(r->c, r->k.id));
    take_all(r, &a, read_answer);
    if (want_status(r, &a, ENSIGN_GRPC_CANCELLED, 1)) want_sizes(r, &a, answer_sizes, 1);
}

static void want_echo_status(run_t *r, const answer_t *a, const char *text)
{
    if (!want_status(r, a, ENSIGN_GRPC_UNKNOWN, 0)) return;
    if (strcmp(a->text, text) != 0) fail(r, "message '%s', wanted '%s'", a->text, text);
    if (!a->from_server) fail(r, "the status is not marked as the server's");
}

static void unary_status(run_t *r, const char *text)
{
    interop_SimpleRequest m = interop_SimpleRequest_init_zero;
    ensign_call_desc_t d = { 0 };
    answer_t a = { 0 };

    m.has_response_status = true;
    m.response_status.code = ENSIGN_GRPC_UNKNOWN;
    snprintf(m.response_status.message, sizeof m.response_status.message, "%s", text);
    unary_simple(r, &m, &d, &a);
    want_echo_status(r, &a, text);
}

static void status_code_and_message(run_t *r)
{
    interop_StreamingOutputCallRequest m = interop_StreamingOutputCallRequest_init_zero;
    ensign_call_desc_t d = { 0 };
    answer_t a = { 0 };

    unary_status(r, status_message);
    m.has_response_status = true;
    m.response_status.code = ENSIGN_GRPC_UNKNOWN;
    snprintf(m.response_status.message, sizeof m.response_status.message, "%s", status_message);
    if (!open_call(r, &d, SERVICE "FullDuplexCall")) return;
    if (!send_message(r, interop_StreamingOutputCallRequest_fields, &m) || !half_close(r)) return;
    take_all(r, &a, read_answer);
    want_echo_status(r, &a, status_message);
}

static void special_status_message(run_t *r)
{
    unary_status(r, special_message);
}

static void unimplemented_method(run_t *r)
{
    ensign_call_desc_t d = { 0 };
    answer_t a = { 0 };
    unary(r, SERVICE "UnimplementedCall", &d, &a, NULL);
    want_status(r, &a, ENSIGN_GRPC_UNIMPLEMENTED, 0);
}

static void unimplemented_service(run_t *r)
{
    ensign_call_desc_t d = { 0 };
    answer_t a = { 0 };
    unary(r, "/grpc.testing.UnimplementedService/UnimplementedCall", &d, &a, NULL);
    want_status(r, &a, ENSIGN_GRPC_UNIMPLEMENTED, 0);
}

static void want_echo(run_t *r, const answer_t *a, const char *which)
{
    const int want = LARGE_ANSWER;
    if (!want_status(r, a, ENSIGN_GRPC_OK, 1) || !want_sizes(r, a, &want, 1)) return;
    if (!a->initial_echoed) fail(r, "%s: %s is not in the initial metadata as sent", which, initial_key);
    if (!a->trailing_echoed) fail(r, "%s: %s is not in the trailing metadata as sent", which, trailing_key);
}

static void custom_metadata(run_t *r)
{
    const size_t size = LARGE_REQUEST;
    const ensign_header_t metadata[2] = {
        { initial_key, { (const uint8_t *)initial_value, sizeof initial_value - 1 } },
        { trailing_key, { trailing_value, sizeof trailing_value } },
    };
    interop_SimpleRequest m = interop_SimpleRequest_init_zero;
    ensign_call_desc_t d = { 0 };
    answer_t first = { 0 }, second = { 0 };

    d.metadata = metadata;
    d.metadata_count = 2;
    m.response_size = LARGE_ANSWER;
    m.has_payload = true;
    m.payload = payload_of(&size);
    unary_simple(r, &m, &d, &first);
    want_echo(r, &first, "unary");

    d = (ensign_call_desc_t){ .metadata = metadata, .metadata_count = 2 };
    if (!open_call(r, &d, SERVICE "FullDuplexCall")) return;
    if (!send_ping(r, LARGE_REQUEST, LARGE_ANSWER) || !half_close(r)) return;
    take_all(r, &second, read_answer);
    want_echo(r, &second, "full duplex");
}

/* ---- compression. The first call's message is not what it is said to be: a server that looks answers
 * INVALID_ARGUMENT. One that does not would let every other call pass, too. */

static const interop_BoolValue yes = { true }, no = { false };

static void compressed_request(run_t *r, bool compress, interop_BoolValue expected, int status)
{
    const size_t size = LARGE_REQUEST;
    const int want = LARGE_ANSWER;
    interop_SimpleRequest m = interop_SimpleRequest_init_zero;
    ensign_call_desc_t d = { 0 };
    answer_t a = { 0 };

    m.has_expect_compressed = m.has_payload = true;
    m.expect_compressed = expected;
    m.response_size = want;
    m.payload = payload_of(&size);
    d.compress = compress;
    unary_simple(r, &m, &d, &a);
    if (want_status(r, &a, status, status == ENSIGN_GRPC_OK) && a.messages > 0) want_sizes(r, &a, &want, 1);
}

static void client_compressed_unary(run_t *r)
{
    compressed_request(r, false, yes, ENSIGN_GRPC_INVALID_ARGUMENT);
    compressed_request(r, true, yes, ENSIGN_GRPC_OK);
    compressed_request(r, false, no, ENSIGN_GRPC_OK);
}

static void want_forms(run_t *r, const answer_t *a, const bool *compressed, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (a->compressed[i] != compressed[i])
            fail(r, "message %u came %s", i, compressed[i] ? "as it is" : "compressed");
}

static void server_compressed_unary(run_t *r)
{
    const size_t size = LARGE_REQUEST;
    const int want = LARGE_ANSWER;

    for (int i = 1; i >= 0; i--) {
        interop_SimpleRequest m = interop_SimpleRequest_init_zero;
        const bool compressed = i == 1;
        ensign_call_desc_t d = { 0 };
        answer_t a = { 0 };
        m.has_response_compressed = m.has_payload = true;
        m.response_compressed.value = compressed;
        m.response_size = want;
        m.payload = payload_of(&size);
        unary_simple(r, &m, &d, &a);
        if (!want_status(r, &a, ENSIGN_GRPC_OK, 1) || !want_sizes(r, &a, &want, 1)) return;
        want_forms(r, &a, &compressed, 1);
    }
}

static bool send_compressed(run_t *r, size_t size, interop_BoolValue expected, int flags)
{
    interop_StreamingInputCallRequest m = interop_StreamingInputCallRequest_init_zero;
    m.has_expect_compressed = m.has_payload = true;
    m.expect_compressed = expected;
    m.payload = payload_of(&size);
    return send_with(r, interop_StreamingInputCallRequest_fields, &m, flags);
}

static void client_compressed_streaming(run_t *r)
{
    ensign_call_desc_t d = { 0 };
    answer_t probe = { 0 }, a = { 0 };

    d.compress = true;
    if (!open_call(r, &d, SERVICE "StreamingInputCall")) return;
    if (!send_compressed(r, 27182, yes, ENSIGN_UNCOMPRESSED)) return;
    take_all(r, &probe, read_sum);
    if (!want_status(r, &probe, ENSIGN_GRPC_INVALID_ARGUMENT, 0)) return;

    if (!open_call(r, &d, SERVICE "StreamingInputCall")) return;
    if (!send_compressed(r, 27182, yes, 0) || !send_compressed(r, 45904, no, ENSIGN_UNCOMPRESSED)) return;
    if (!half_close(r)) return;
    take_all(r, &a, read_sum);
    if (want_status(r, &a, ENSIGN_GRPC_OK, 1) && a.sum != COMPRESSED_SUM)
        fail(r, "the server counted %d bytes, wanted %d", (int)a.sum, COMPRESSED_SUM);
}

static void server_compressed_streaming(run_t *r)
{
    static const int sizes[2] = { 31415, 92653 };
    static const bool compressed[2] = { true, false };
    interop_StreamingOutputCallRequest m = interop_StreamingOutputCallRequest_init_zero;
    ensign_call_desc_t d = { 0 };
    answer_t a = { 0 };

    m.response_parameters_count = 2;
    for (int i = 0; i < 2; i++) {
        m.response_parameters[i].size = sizes[i];
        m.response_parameters[i].has_compressed = true;
        m.response_parameters[i].compressed.value = compressed[i];
    }
    if (!open_call(r, &d, SERVICE "StreamingOutputCall")) return;
    if (!send_message(r, interop_StreamingOutputCallRequest_fields, &m) || !half_close(r)) return;
    take_all(r, &a, read_answer);
    if (!want_status(r, &a, ENSIGN_GRPC_OK, 2) || !want_sizes(r, &a, sizes, 2)) return;
    want_forms(r, &a, compressed, 2);
}

/* ---- soak: large_unary, over and over. None may fail. */

static void soak(run_t *r, int calls, bool own_connection)
{
    for (int i = 0; i < calls && r->why[0] == '\0'; i++) {
        if (own_connection) {
            ensign_error_t why = { 0 };
            ensign_destroy(r->c);
            r->k.id = 0;
            if (ensign_create(&r->desc, &r->c, &why) != ENSIGN_OK) {
                fprintf(stderr, "interop client: %s\n", why.text);
                exit(2);
            }
        }
        large_unary(r);
    }
}

static void rpc_soak(run_t *r)
{
    soak(r, RPC_SOAK, false);
}

static void channel_soak(run_t *r)
{
    soak(r, CHANNEL_SOAK, true);
}

typedef struct case_t {
    const char *name;
    void (*run)(run_t *r);
    bool named;                 /* it runs only if it is */
} case_t;
#define CASE(name) { #name, name, false }
#define NAMED(name) { #name, name, true }
static const case_t cases[] = {
    CASE(empty_unary), CASE(large_unary), CASE(client_streaming), CASE(server_streaming), CASE(ping_pong),
    CASE(empty_stream), CASE(timeout_on_sleeping_server), CASE(cancel_after_begin),
    CASE(cancel_after_first_response), CASE(status_code_and_message), CASE(special_status_message),
    CASE(unimplemented_method), CASE(unimplemented_service), CASE(custom_metadata), CASE(rpc_soak),
    CASE(channel_soak), NAMED(client_compressed_unary), NAMED(server_compressed_unary),
    NAMED(client_compressed_streaming), NAMED(server_compressed_streaming),
};

static bool selected(const case_t *x, char **only, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(only[i], x->name) == 0) return true;
    return count == 0 && !x->named;
}

/* Failures of one case do not reach the next: its call is forgotten, its words are printed. */
static bool run_case(run_t *r, const case_t *x, int number, const char *label)
{
    r->why[0] = '\0';
    r->k.id = 0;
    x->run(r);
    if (r->k.id != 0) ensign_forget(r->c, r->k.id);
    printf("%s %d - %s (%s)\n", r->why[0] ? "not ok" : "ok", number, x->name, label);
    if (r->why[0]) printf("# %s\n", r->why);
    fflush(stdout);
    return r->why[0] == '\0';
}

int main(int argc, char **argv)
{
    static run_t r;
    ensign_error_t why = { 0 };
    int number = 0, failed = 0;

    if (argc < 2) {
        fprintf(stderr, "usage: client LABEL [CASE...], with ENSIGN_ENDPOINT set\n");
        return 2;
    }
    if (ensign_desc_env(&r.desc, &why) != ENSIGN_OK || ensign_create(&r.desc, &r.c, &why) != ENSIGN_OK) {
        fprintf(stderr, "interop client: %s\n", why.text);
        return 2;
    }
    for (size_t i = 0; i < COUNT(cases); i++)
        if (selected(&cases[i], argv + 2, argc - 2))
            failed += !run_case(&r, &cases[i], ++number, argv[1]);
    ensign_destroy(r.c);
    if (number == 0) fprintf(stderr, "interop client: no case of that name\n");
    return number == 0 || failed > 0;
}
