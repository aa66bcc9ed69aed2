/* Typed calls: what tools/protoc-gen-ensign writes for tests/typed/test.proto, against a server of the test's. */
#include "calls.h"
#include "test.ensign.h"

typedef grpc_testing_SimpleRequest ask_t;
typedef grpc_testing_SimpleResponse answer_t;
typedef grpc_testing_StreamingOutputCallRequest wish_t;
typedef grpc_testing_StreamingOutputCallResponse piece_t;
typedef grpc_testing_StreamingInputCallRequest given_t;
typedef grpc_testing_StreamingInputCallResponse sum_t;

/* ------------------------------------------------------------------ messages */
static ask_t asked(int32_t size)
{
    ask_t m = grpc_testing_SimpleRequest_init_zero;
    m.response_size = size;
    m.has_payload = true;
    m.payload.body.size = 3;
    memcpy(m.payload.body.bytes, "abc", 3);
    return m;
}

static given_t given(size_t size)
{
    given_t m = grpc_testing_StreamingInputCallRequest_init_zero;
    m.has_payload = true;
    m.payload.body.size = (pb_size_t)size;
    memset(m.payload.body.bytes, 'g', size);
    return m;
}

/* A Payload of n bytes in field `tag` of an answer. */
static void enc_payload(bytes_t *b, uint32_t tag, size_t n)
{
    static const uint8_t body[200];
    bytes_t payload = { 0 };
    assert_true(n <= sizeof body);
    enc_bytes(&payload, 2, body, n);
    enc_message(b, tag, &payload);
}

static void answer_piece(stream_t *s, size_t n)
{
    bytes_t b = { 0 };
    enc_payload(&b, 1, n);
    peer_send(s, &b);
}

static void assert_error(world_t *w, int code, const char *words)
{
    const ensign_error_t *e = ensign_error(w->client);
    assert_int_equal(e->code, code);
    if (!strstr(e->text, words)) world_fail(w, "'%s' is not in: %s", words, e->text);
}

/* A callback that takes a string into a buffer of the caller's, as the page about typed calls has it. */
static bool take_text(pb_istream_t *in, const pb_field_t *field, void **arg)
{
    char *text = (char *)*arg;
    (void)field;
    if (in->bytes_left > 15) return false;
    text[in->bytes_left] = '\0';
    return pb_read(in, (pb_byte_t *)text, in->bytes_left);
}

/* Writes a string; without one it fails. */
static bool put_text(pb_ostream_t *out, const pb_field_t *field, void *const *arg)
{
    const char *text = (const char *)*arg;
    if (!text) return false;
    return pb_encode_tag_for_field(out, field) && pb_encode_string(out, (const pb_byte_t *)text, strlen(text));
}

/* Writes one letter more each time, which no callback may do. */
static bool put_more(pb_ostream_t *out, const pb_field_t *field, void *const *arg)
{
    unsigned *times = (unsigned *)*arg;
    ++*times;
    return pb_encode_tag_for_field(out, field) && pb_encode_string(out, (const pb_byte_t *)"aaaaaaaa", *times);
}

/* ------------------------------------------------------------------ unary */
SCRIPT(a_unary_call)
{
    ask_t question = asked(7);
    answer_t answer = grpc_testing_SimpleResponse_init_zero;
    const ensign_notice_t *n;
    ensign_slice_t request, payload = { NULL, 0 }, body = { NULL, 0 };
    bytes_t b = { 0 };
    char scope[16] = "";
    uint64_t taken;
    ensign_call_t k;
    stream_t *s;
    warm(w);
    question.has_response_status = true;
    question.response_status.message.funcs.encode = put_text;
    question.response_status.message.arg = (void *)(uintptr_t)"echo";
    k = grpc_testing_TestService_UnaryCall_open(w->client, &question, NULL);
    assert_int_not_equal(k.id, 0);
    s = world_stream(w, 1);
    assert_string_equal(peer_field(s, ":path"), "/grpc.testing.TestService/UnaryCall");
    assert_string_equal(grpc_testing_TestService_UnaryCall_method, "/grpc.testing.TestService/UnaryCall");
    world_until(w, s->half_closed);
    request = world_request(w, s);
    assert_int_equal(s->in_at, s->in.len);
    assert_int_equal(dec_uint(request, 2), 7);
    assert_true(dec_field(request, 3, &payload) && dec_field(payload, 2, &body));
    assert_text(body, "abc");
    assert_true(dec_field(request, 7, &payload) && dec_field(payload, 2, &body));
    assert_text(body, "echo");

    enc_payload(&b, 1, 7);
    enc_text(&b, 2, "me");
    enc_text(&b, 3, "here");
    peer_send(s, &b);
    peer_finish(s, 0, NULL, NULL);
    n = world_reply(w, k.id, ENSIGN_GRPC_OK);
    taken = w->allocs;
    answer.oauth_scope.funcs.decode = take_text;
    answer.oauth_scope.arg = scope;
    assert_int_equal(grpc_testing_TestService_UnaryCall_read(w->client, n, &answer), ENSIGN_OK);
    assert_int_equal(w->allocs, taken);
    assert_true(answer.has_payload);
    assert_int_equal(answer.payload.body.size, 7);
    assert_string_equal(answer.username, "me");
    assert_string_equal(scope, "here");
}

SCRIPT(an_empty_message_is_a_message)
{
    static const uint8_t wire[] = { 0, 0, 0, 0, 0 };
    grpc_testing_Empty nothing = grpc_testing_Empty_init_zero;
    ensign_call_t k;
    stream_t *s;
    warm(w);
    k = grpc_testing_TestService_EmptyCall_open(w->client, &nothing, NULL);
    s = world_stream(w, 1);
    world_until(w, s->half_closed);
    assert_slice(bytes_slice(&s->in), wire, sizeof wire);
    peer_message(s, "", 0);
    peer_finish(s, 0, NULL, NULL);
    assert_int_equal(grpc_testing_TestService_EmptyCall_read(w->client, world_reply(w, k.id, ENSIGN_GRPC_OK),
                                                             &nothing), ENSIGN_OK);
}

/* Metadata, limits and user are the caller's; what makes the call this one is not. */
SCRIPT(options_go_with_the_call)
{
    ensign_header_t own = { "x-own", { (const uint8_t *)"v", 1 } };
    ensign_call_desc_t d = unary("ignored");
    ask_t question = asked(1);
    int mark = 0;
    ensign_call_t k;
    stream_t *s;
    warm(w);
    d.metadata = &own;
    d.metadata_count = 1;
    d.deadline_ms = 5000;
    d.user = &mark;
    k = grpc_testing_TestService_UnaryCall_open(w->client, &question, &d);
    s = world_stream(w, 1);
    assert_string_equal(peer_field(s, ":path"), "/grpc.testing.TestService/UnaryCall");
    assert_string_equal(peer_field(s, "x-own"), "v");
    assert_int_equal(dec_uint(world_request(w, s), 2), 1);
    assert_ptr_equal(world_reply(w, k.id, ENSIGN_GRPC_DEADLINE_EXCEEDED)->user, &mark);
    assert_string_equal(d.method, "/test.Service/Method");
}

SCRIPT(a_failed_call_has_its_error_and_text)
{
    ask_t question = asked(1);
    answer_t answer = grpc_testing_SimpleResponse_init_zero;
    const ensign_notice_t *n;
    ensign_call_t k;
    warm(w);
    k = grpc_testing_TestService_UnaryCall_open(w->client, &question, NULL);
    peer_refuse(world_stream(w, 1), 5, "no such thing");
    n = world_reply(w, k.id, ENSIGN_GRPC_NOT_FOUND);
    assert_int_equal(grpc_testing_TestService_UnaryCall_read(w->client, n, &answer), ENSIGN_E_NOT_FOUND);
    assert_error(w, ENSIGN_E_NOT_FOUND, "no such thing");
    assert_string_equal(ensign_error(w->client)->text, n->error->text);
}

/* ------------------------------------------------------------------ what does not fit */
SCRIPT(a_request_that_does_not_fit)
{
    ensign_call_desc_t d = streaming();
    ask_t question = asked(1);
    wish_t wish = grpc_testing_StreamingOutputCallRequest_init_zero;
    warm(w);
    d.max_send_bytes = 6;
    assert_int_equal(grpc_testing_TestService_UnaryCall_open(w->client, &question, &d).id, 0);
    assert_error(w, ENSIGN_E_TOO_LARGE, "max_send_bytes is 6");
    assert_int_equal(send_text(w, 0, "x"), ENSIGN_E_TOO_LARGE); /* {0} goes on with its opener's error */
    wish.has_payload = true;
    wish.payload.body.size = 10;
    assert_int_equal(grpc_testing_TestService_StreamingOutputCall_open(w->client, &wish, &d).id, 0);
    assert_error(w, ENSIGN_E_TOO_LARGE, "max_send_bytes is 6");
    world_settle(w);
    assert_int_equal(w->stream_count, 1);
}

/* The text says what nanopb found, and what to do about it. */
static void assert_unencoded(world_t *w, const char *found)
{
    assert_error(w, ENSIGN_E_ARGUMENT, found);
    assert_error(w, ENSIGN_E_ARGUMENT,
                 "; raise the field's max_size or max_count in the .options, or see why a callback failed");
}

SCRIPT(a_request_that_does_not_encode)
{
    ask_t question = asked(1);
    wish_t wish = grpc_testing_StreamingOutputCallRequest_init_zero;
    warm(w);
    wish.response_parameters_count = 3; /* max_count is 2 */
    assert_int_equal(grpc_testing_TestService_StreamingOutputCall_open(w->client, &wish, NULL).id, 0);
    assert_unencoded(w, "/grpc.testing.TestService/StreamingOutputCall cannot be encoded: array max size");
    question.has_payload = true;
    question.payload.body.size = 65; /* max_size is 64 */
    assert_int_equal(grpc_testing_TestService_UnaryCall_open(w->client, &question, NULL).id, 0);
    assert_unencoded(w, "/grpc.testing.TestService/UnaryCall cannot be encoded: bytes size exceeded;");
    question.has_payload = false;
    question.has_response_status = true;
    question.response_status.message.funcs.encode = put_text; /* and no text */
    assert_int_equal(grpc_testing_TestService_UnaryCall_open(w->client, &question, NULL).id, 0);
    assert_unencoded(w, "/grpc.testing.TestService/UnaryCall cannot be encoded: ");
    assert_int_equal(send_text(w, 0, "x"), ENSIGN_E_ARGUMENT);
    world_settle(w);
    assert_int_equal(w->stream_count, 1);
}

/* Whichever allocation fails, there is no call, and a text. */
SCRIPT(an_opener_without_memory)
{
    ask_t question = asked(1);
    size_t fails = 0;
    ensign_call_t k;
    warm(w);
    for (;; fails++) {
        w->fail_at = w->allocs + 1 + fails;
        k = grpc_testing_TestService_UnaryCall_open(w->client, &question, NULL);
        w->fail_at = 0;
        if (k.id) break;
        assert_error(w, ENSIGN_E_MEMORY, "memory");
        assert_int_equal(send_text(w, 0, "x"), ENSIGN_E_MEMORY);
    }
    assert_in_range(fails, 2, 20);
    assert_int_equal(dec_uint(world_request(w, world_stream(w, 1)), 2), 1);
}

static void reply_with(world_t *w, bytes_t *b, const char *words)
{
    ask_t question = asked(1);
    answer_t answer = grpc_testing_SimpleResponse_init_zero;
    size_t i = w->stream_count;
    ensign_call_t k = grpc_testing_TestService_UnaryCall_open(w->client, &question, NULL);
    stream_t *s = world_stream(w, i);
    peer_send(s, b);
    peer_finish(s, 0, NULL, NULL);
    assert_int_equal(grpc_testing_TestService_UnaryCall_read(w->client, world_reply(w, k.id, ENSIGN_GRPC_OK),
                                                             &answer), ENSIGN_E_INTERNAL);
    assert_error(w, ENSIGN_E_INTERNAL, "/grpc.testing.TestService/UnaryCall does not decode");
    assert_error(w, ENSIGN_E_INTERNAL, words);
}

SCRIPT(an_answer_that_does_not_decode)
{
    bytes_t cut = { 0 }, no_protobuf = { 0 }, long_name = { 0 }, refused = { 0 };
    warm(w);
    bytes_add(&cut, "\x12\x05" "ab", 4);
    reply_with(w, &cut, "does not decode");
    bytes_add(&no_protobuf, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12);
    reply_with(w, &no_protobuf, "does not decode");
    enc_text(&long_name, 2, "longer than eight");
    reply_with(w, &long_name, "string overflow; if that is an overflow, raise the field's max_size");
    enc_payload(&refused, 1, 65);
    reply_with(w, &refused, "bytes overflow");
}

SCRIPT(a_compressed_answer_is_the_callers)
{
    ensign_call_desc_t d = streaming();
    ask_t question = asked(1);
    answer_t answer = grpc_testing_SimpleResponse_init_zero;
    const ensign_notice_t *n;
    ensign_call_t k;
    stream_t *s;
    warm(w);
    d.accept_encoding = "own";
    k = grpc_testing_TestService_UnaryCall_open(w->client, &question, &d);
    s = world_stream(w, 1);
    peer_headers(s, "200", "content-type", "application/grpc", "grpc-encoding", "own", NULL);
    peer_prefix(s, 1, 2);
    peer_raw(s, "\x12", 1);
    peer_raw(s, "", 1);
    peer_finish(s, 0, NULL, NULL);
    n = world_reply(w, k.id, ENSIGN_GRPC_OK);
    assert_int_equal(grpc_testing_TestService_UnaryCall_read(w->client, n, &answer), ENSIGN_E_FORMAT);
    assert_error(w, ENSIGN_E_FORMAT, "is compressed");
}

/* ------------------------------------------------------------------ streams */
SCRIPT(a_servers_stream)
{
    wish_t wish = grpc_testing_StreamingOutputCallRequest_init_zero;
    piece_t piece = grpc_testing_StreamingOutputCallResponse_init_zero;
    const ensign_notice_t *n;
    ensign_call_t k;
    stream_t *s;
    size_t i;
    warm(w);
    wish.response_parameters_count = 1;
    wish.response_parameters[0].size = 9;
    k = grpc_testing_TestService_StreamingOutputCall_open(w->client, &wish, NULL);
    s = world_stream(w, 1);
    world_until(w, s->half_closed);
    assert_int_equal(world_request(w, s).len, 4);
    for (i = 0; i < 3; i++) answer_piece(s, i);
    answer_piece(s, 65);
    answer_piece(s, 64);
    peer_finish(s, 0, NULL, NULL);
    n = world_expect(w, k.id, ENSIGN_NOTICE_HEADERS);
    assert_int_equal(grpc_testing_TestService_StreamingOutputCall_read(w->client, n, &piece), ENSIGN_AGAIN);
    assert_error(w, ENSIGN_AGAIN, "has no message");
    for (i = 0; i < 5; i++) {
        n = world_expect(w, k.id, ENSIGN_NOTICE_MESSAGE);
        assert_int_equal(grpc_testing_TestService_StreamingOutputCall_read(w->client, n, &piece),
                         i == 3 ? ENSIGN_E_INTERNAL : ENSIGN_OK); /* one that is bad ends nothing */
        if (i != 3) assert_int_equal(piece.payload.body.size, i == 4 ? 64 : i);
    }
    n = world_end(w, k.id, ENSIGN_GRPC_OK);
    assert_int_equal(grpc_testing_TestService_StreamingOutputCall_read(w->client, n, &piece), ENSIGN_ENDED);
    assert_error(w, ENSIGN_ENDED, "has ended well");
    k = grpc_testing_TestService_StreamingOutputCall_open(w->client, &wish, NULL);
    peer_refuse(world_stream(w, 2), 8, "enough");
    n = world_end(w, k.id, ENSIGN_GRPC_RESOURCE_EXHAUSTED);
    assert_int_equal(grpc_testing_TestService_StreamingOutputCall_read(w->client, n, &piece),
                     ENSIGN_E_RESOURCE_EXHAUSTED);
    assert_error(w, ENSIGN_E_RESOURCE_EXHAUSTED, "enough");
}

SCRIPT(a_clients_stream)
{
    ensign_call_desc_t d = streaming();
    given_t small = given(10), large = given(64);
    sum_t sum = grpc_testing_StreamingInputCallResponse_init_zero;
    const ensign_notice_t *n;
    ensign_call_t k;
    stream_t *s;
    bytes_t b = { 0 };
    int rc;
    warm(w);
    peer_setting(w, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0);
    world_settle(w);
    d.send_buffer_bytes = 100;
    d.max_send_bytes = 70;
    k = grpc_testing_TestService_StreamingInputCall_open(w->client, &d);
    s = world_stream(w, 1);
    assert_int_equal(s->in.len, 0);
    assert_int_equal(grpc_testing_TestService_StreamingInputCall_send(w->client, k, &large), ENSIGN_OK);
    rc = grpc_testing_TestService_StreamingInputCall_send(w->client, k, &large);
    assert_int_equal(rc, ENSIGN_AGAIN);
    assert_error(w, ENSIGN_AGAIN, "ROOM");
    peer_setting(w, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 65535);
    n = world_expect(w, k.id, ENSIGN_NOTICE_ROOM);
    assert_int_equal(grpc_testing_TestService_StreamingInputCall_read(w->client, n, &sum), ENSIGN_AGAIN);
    assert_int_equal(grpc_testing_TestService_StreamingInputCall_send(w->client, k, &small), ENSIGN_OK);
    assert_int_equal(ensign_call_half_close(w->client, k), ENSIGN_OK);
    assert_int_equal(grpc_testing_TestService_StreamingInputCall_send(w->client, k, &small), ENSIGN_E_STATE);
    world_until(w, s->half_closed);
    assert_int_equal(world_request(w, s).len, 68);
    assert_int_equal(world_request(w, s).len, 14);
    enc_uint(&b, 1, 74);
    peer_send(s, &b);
    peer_finish(s, 0, NULL, NULL);
    n = world_await(w, k.id, ENSIGN_NOTICE_MESSAGE);
    assert_int_equal(grpc_testing_TestService_StreamingInputCall_read(w->client, n, &sum), ENSIGN_OK);
    assert_int_equal(sum.aggregated_payload_size, 74);
    n = world_end(w, k.id, ENSIGN_GRPC_OK);
    assert_int_equal(grpc_testing_TestService_StreamingInputCall_read(w->client, n, &sum), ENSIGN_ENDED);
}

SCRIPT(both_ways)
{
    wish_t wish = grpc_testing_StreamingOutputCallRequest_init_zero;
    piece_t piece = grpc_testing_StreamingOutputCallResponse_init_zero;
    ensign_call_t k;
    stream_t *s;
    size_t i;
    warm(w);
    k = grpc_testing_TestService_FullDuplexCall_open(w->client, NULL);
    s = world_stream(w, 1);
    for (i = 1; i < 4; i++) {
        wish.response_type = i == 2 ? (grpc_testing_PayloadType)1 : grpc_testing_PayloadType_COMPRESSABLE;
        assert_int_equal(grpc_testing_TestService_FullDuplexCall_send(w->client, k, &wish), ENSIGN_OK);
        assert_int_equal(dec_uint(world_request(w, s), 1), i == 2);
        answer_piece(s, i);
        assert_int_equal(grpc_testing_TestService_FullDuplexCall_read(
                             w->client, world_await(w, k.id, ENSIGN_NOTICE_MESSAGE), &piece), ENSIGN_OK);
        assert_int_equal(piece.payload.body.size, i);
    }
    assert_int_equal(ensign_call_half_close(w->client, k), ENSIGN_OK);
    world_until(w, s->half_closed);
    peer_finish(s, 0, NULL, NULL);
    assert_int_equal(grpc_testing_TestService_FullDuplexCall_read(
                         w->client, world_end(w, k.id, ENSIGN_GRPC_OK), &piece), ENSIGN_ENDED);
    assert_int_equal(grpc_testing_TestService_FullDuplexCall_send(w->client, k, &wish), ENSIGN_E_HANDLE);
}

/* What a message takes is known before it is written. */
SCRIPT(a_callback_that_does_not_repeat_itself)
{
    wish_t wish = grpc_testing_StreamingOutputCallRequest_init_zero;
    unsigned times = 0;
    ensign_call_t k;
    stream_t *s;
    warm(w);
    k = grpc_testing_TestService_FullDuplexCall_open(w->client, NULL);
    s = world_stream(w, 1);
    wish.has_response_status = true;
    wish.response_status.message.funcs.encode = put_more;
    wish.response_status.message.arg = &times;
    assert_int_equal(grpc_testing_TestService_FullDuplexCall_send(w->client, k, &wish), ENSIGN_E_ARGUMENT);
    assert_error(w, ENSIGN_E_ARGUMENT, "cannot be encoded");
    world_settle(w);
    assert_int_equal(s->in.len, 0);
    wish.has_response_status = false;
    assert_int_equal(grpc_testing_TestService_FullDuplexCall_send(w->client, k, &wish), ENSIGN_OK);
    assert_int_equal(world_request(w, s).len, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(a_unary_call), IN_MODES(an_empty_message_is_a_message), IN_MODES(options_go_with_the_call),
        IN_MODES(a_failed_call_has_its_error_and_text), IN_MODES(a_request_that_does_not_fit),
        IN_MODES(a_request_that_does_not_encode), IN_MODES(an_opener_without_memory),
        IN_MODES(an_answer_that_does_not_decode), IN_MODES(a_compressed_answer_is_the_callers),
        IN_MODES(a_servers_stream), IN_MODES(a_clients_stream), IN_MODES(both_ways),
        IN_MODES(a_callback_that_does_not_repeat_itself),
    };
    return cmocka_run_group_tests_name("typed", tests, NULL, NULL);
}
