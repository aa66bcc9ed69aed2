/* Calls to any gRPC method: bytes, messages, windows, queues, deadlines, connections. */
#include "calls.h"

/* ------------------------------------------------------------------ the wire */
/* The names of the request's fields, in order. */
static void field_names(const stream_t *s, char *out, size_t cap)
{
    ensign_slice_t name, value;
    size_t at = 0;
    out[0] = 0;
    while (field_next(&s->fields, &at, &name, &value)) {
        strncat(out, (const char *)name.ptr, cap - strlen(out) - 1);
        strncat(out, " ", cap - strlen(out) - 1);
    }
}

SCRIPT(unary_call_and_its_bytes)
{
    static const uint8_t wire[] = { 0, 0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o' };
    ensign_header_t own = { "x-own", { (const uint8_t *)"v", 1 } };
    ensign_call_desc_t d = unary("hello");
    const ensign_notice_t *n;
    char names[300];
    int mark = 0;
    stream_t *s;
    uint32_t k;
    world_create(w);
    d.metadata = &own;
    d.metadata_count = 1;
    d.deadline_ms = 5000;
    d.user = &mark;
    k = call(w, &d);
    s = world_stream(w, 0);
    world_until(w, s->half_closed);
    field_names(s, names, sizeof names);
    assert_string_equal(names,
                        ":method :scheme :path :authority te content-type user-agent grpc-timeout x-own ");
    assert_string_equal(peer_field(s, ":method"), "POST");
    assert_string_equal(peer_field(s, ":scheme"), "http");
    assert_string_equal(peer_field(s, ":path"), "/test.Service/Method");
    assert_string_equal(peer_field(s, ":authority"), "localhost:5356");
    assert_string_equal(peer_field(s, "te"), "trailers");
    assert_string_equal(peer_field(s, "content-type"), "application/grpc");
    assert_string_equal(peer_field(s, "x-own"), "v");
    assert_slice(bytes_slice(&s->in), wire, sizeof wire);
    peer_message(s, "world", 5);
    peer_finish(s, 0, NULL, NULL);
    n = world_reply(w, k, ENSIGN_GRPC_OK);
    assert_text(n->as.reply.message, "world");
    assert_false(n->as.reply.compressed);
    assert_ptr_equal(n->user, &mark);
    assert_true(n->as.reply.from_server);
    assert_null(n->error);
    assert_int_equal(s->in.len, sizeof wire);
    assert_false(s->reset);
}

SCRIPT(an_empty_request_is_a_message_too)
{
    static const uint8_t wire[] = { 0, 0, 0, 0, 0 };
    ensign_call_desc_t d = unary("");
    const ensign_notice_t *n;
    stream_t *s;
    uint32_t k;
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    world_until(w, s->half_closed);
    assert_slice(bytes_slice(&s->in), wire, sizeof wire);
    peer_message(s, "", 0);
    peer_finish(s, 0, NULL, NULL);
    n = world_reply(w, k, ENSIGN_GRPC_OK);
    assert_non_null(n->as.reply.message.ptr);
    assert_int_equal(n->as.reply.message.len, 0);
}

/* The request is encoded in place, behind the opener; in any number of steps, and once. */
SCRIPT(a_unary_request_may_follow)
{
    static const uint8_t wire[] = { 0, 0, 0, 0, 2, 'h', 'i' };
    ensign_call_desc_t d = unary("");
    uint8_t *room;
    stream_t *s;
    uint32_t k;
    warm(w);
    d.request_follows = true;
    k = call(w, &d);
    s = world_stream(w, 1);
    world_settle(w);
    assert_false(s->half_closed);
    assert_int_equal(s->in.len, 0);
    assert_int_equal(ensign_call_reserve(w->client, as_call(k), 10, &room), ENSIGN_OK);
    memcpy(room, "hi", 2);
    assert_int_equal(ensign_call_commit(w->client, as_call(k), 2, 0), ENSIGN_OK);
    assert_int_equal(send_text(w, k, "more"), ENSIGN_E_STATE);
    world_until(w, s->half_closed);
    assert_slice(bytes_slice(&s->in), wire, sizeof wire);
    peer_message(s, "ho", 2);
    peer_finish(s, 0, NULL, NULL);
    assert_text(world_reply(w, k, ENSIGN_GRPC_OK)->as.reply.message, "ho");
    k = call(w, &d);
    assert_int_equal(send_text(w, k, "whole"), ENSIGN_OK);
    assert_int_equal(send_text(w, k, "more"), ENSIGN_E_STATE);
    s = world_stream(w, 2);
    world_until(w, s->half_closed);
    assert_text(world_request(w, s), "whole");
}

/* Until its request is there, a unary call ends as any other: by the server, its deadline, a cancel, a close. */
SCRIPT(a_unary_call_ends_without_its_request)
{
    ensign_call_desc_t d = unary("");
    uint32_t k;
    warm(w);
    d.request_follows = true;
    k = call(w, &d);
    peer_refuse(world_stream(w, 1), 5, "no such thing");
    assert_text(world_reply(w, k, ENSIGN_GRPC_NOT_FOUND)->as.reply.text, "no such thing");
    d.deadline_ms = 1000;
    k = call(w, &d);
    world_stream(w, 2);
    world_reply(w, k, ENSIGN_GRPC_DEADLINE_EXCEEDED);
    k = call(w, &d);
    assert_int_equal(ensign_cancel(w->client, k), ENSIGN_OK);
    assert_int_equal(send_text(w, k, "late"), ENSIGN_ENDED);
    world_reply(w, k, ENSIGN_GRPC_CANCELLED);
    k = call(w, &d);
    assert_int_equal(ensign_close(w->client, k, ENSIGN_FOREVER), ENSIGN_OK);
    assert_int_equal(send_text(w, k, "late"), ENSIGN_E_STATE);
    world_until(w, world_stream(w, 3)->half_closed);
    peer_refuse(w->streams[3], 13, "no request");
    world_reply(w, k, ENSIGN_GRPC_INTERNAL);
}

/* Whether it comes while an attempt waits, or none is possible, the next one has it. */
SCRIPT(a_request_that_follows_goes_with_the_next_attempt)
{
    ensign_call_desc_t d = unary("");
    stream_t *s;
    uint32_t k;
    warm(w);
    d.request_follows = true;
    d.retry.max_attempts = 3;
    k = call(w, &d);
    peer_refuse(world_stream(w, 1), 14, "later"); /* a wait */
    world_settle(w);
    assert_int_equal(send_text(w, k, "hi"), ENSIGN_OK);
    assert_int_equal(send_text(w, k, "more"), ENSIGN_E_STATE);
    s = world_stream(w, 2);
    world_until(w, s->half_closed);
    assert_text(world_request(w, s), "hi");
    peer_message(s, "ho", 2);
    peer_finish(s, 0, NULL, NULL);
    assert_int_equal(world_reply(w, k, ENSIGN_GRPC_OK)->as.reply.attempts, 2);
    k = call(w, &d);
    world_stream(w, 3);
    world_cut(w, ENSIGN_LINK_RPC, 0);
    assert_int_equal(send_text(w, k, "ha"), ENSIGN_OK);
    s = world_stream(w, 4);
    world_until(w, s->half_closed);
    assert_text(world_request(w, s), "ha");
    peer_message(s, "ho", 2);
    peer_finish(s, 0, NULL, NULL);
    world_reply(w, k, ENSIGN_GRPC_OK);
}

SCRIPT(a_request_that_follows_is_the_only_one)
{
    ensign_call_desc_t d = unary("hello");
    warm(w);
    d.request_follows = true;
    assert_int_equal(ensign_call_open(w->client, &d).id, 0);
    assert_int_equal(ensign_error(w->client)->code, ENSIGN_E_ARGUMENT);
    assert_non_null(strstr(ensign_error(w->client)->text, "leave request empty"));
    d = streaming();
    d.request_follows = true;
    assert_int_equal(ensign_call_open(w->client, &d).id, 0);
    assert_non_null(strstr(ensign_error(w->client)->text, "set unary"));
}

/* What code on top of the API has to say is told as our own errors are. */
SCRIPT(an_error_of_the_caller)
{
    const ensign_error_t *e;
    warm(w);
    e = ensign_error(w->client);
    assert_int_equal(ensign_fail(w->client, ENSIGN_E_FORMAT, 7, "typed: %s has %d\n", "field", 3),
                     ENSIGN_E_FORMAT);
    assert_ptr_equal(ensign_error(w->client), e);
    assert_int_equal(e->code, ENSIGN_E_FORMAT);
    assert_int_equal(e->native, 7);
    assert_string_equal(e->text, "typed: field has 3 ");
    assert_int_equal(send_text(w, 0, "x"), ENSIGN_E_FORMAT);
    assert_int_equal(ensign_fail(w->client, ENSIGN_AGAIN, 0, "later"), ENSIGN_AGAIN);
    assert_string_equal(ensign_error(w->client)->text, "later");
    assert_int_equal(send_text(w, 0, "x"), ENSIGN_E_HANDLE); /* no opener has failed */
}

/* ------------------------------------------------------------------ receiving */
static void stream_sizes(world_t *w, uint32_t window, const size_t *sizes, size_t count, size_t frame_max,
                         size_t pad)
{
    ensign_call_desc_t d = streaming();
    size_t seen = w->stream_count, i;
    stream_t *s;
    uint32_t k;
    d.window_bytes = window;
    d.max_message_bytes = 5u << 20;
    k = call(w, &d);
    assert_int_equal(ensign_call_half_close(w->client, as_call(k)), ENSIGN_OK);
    s = world_stream(w, seen);
    world_audit(s, k, window);
    s->frame_max = frame_max;
    s->pad = pad;
    for (i = 0; i < count; i++) send_pattern(s, i, sizes[i]);
    peer_finish(s, 0, NULL, NULL);
    world_expect(w, k, ENSIGN_NOTICE_HEADERS);
    for (i = 0; i < count; i++)
        check_pattern(w, world_expect(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, i, sizes[i]);
    assert_int_equal(world_expect(w, k, ENSIGN_NOTICE_END)->as.end.status, ENSIGN_GRPC_OK);
}

SCRIPT(messages_of_all_sizes_through_all_windows)
{
    static const uint32_t windows[] = { 1024, 4096, 65536, 262144 };
    static const size_t sizes[] = { 0,     1,      0,      4,      5,        507,   512,
                                    1019,  1020,   1024,   2048,   100,      4091,  4096,
                                    30000, 40000,  16379,  65531,  65532,    65536, 3,
                                    70000, 131072, 262139, 300000, 1u << 20, 9,     5u << 20 };
    size_t count = w->mode == BYTE ? 20 : COUNT(sizes), i;
    warm(w);
    for (i = 0; i < COUNT(windows); i++) stream_sizes(w, windows[i], sizes, count, 0, 0);
}

SCRIPT(frames_may_end_anywhere_and_be_padded)
{
    static const size_t sizes[] = { 0, 1, 2, 3, 700, 0, 1500, 5, 3000, 1024, 1023, 1019 };
    warm(w);
    stream_sizes(w, 1024, sizes, COUNT(sizes), 3, 0);
    stream_sizes(w, 1024, sizes, COUNT(sizes), 7, 200);
    stream_sizes(w, 4096, sizes, COUNT(sizes), 1, 1);
    stream_sizes(w, 65536, sizes, COUNT(sizes), 100, 255);
}

/* 40 KB behind a released message of 30 KB in 64 KiB: credit at half of the window alone would stall. */
SCRIPT(credit_goes_out_when_the_head_message_needs_it)
{
    static const size_t sizes[] = { 30000, 40000, 30000, 40000, 65531, 1, 65531, 32768, 32768, 32768 };
    warm(w);
    stream_sizes(w, 65536, sizes, COUNT(sizes), 0, 0);
}

/* Nothing is pulled: no more than the window comes; then all comes. */
SCRIPT(an_unpulled_call_takes_one_window_and_no_more)
{
    ensign_call_desc_t d = streaming();
    size_t i;
    stream_t *s;
    uint32_t k;
    warm(w);
    d.window_bytes = 4096;
    k = call(w, &d);
    s = world_stream(w, 1);
    world_audit(s, k, 4096);
    for (i = 0; i < 100; i++) send_pattern(s, i, 995);
    peer_finish(s, 0, NULL, NULL);
    world_settle(w);
    assert_true(s->out_at <= 4096);
    assert_true(s->out_at >= 2000);
    world_pass(w, 60000);
    assert_true(s->out_at <= 4096);
    world_expect(w, k, ENSIGN_NOTICE_HEADERS);
    for (i = 0; i < 100; i++)
        check_pattern(w, world_expect(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, i, 995);
    world_end(w, k, ENSIGN_GRPC_OK);
}

SCRIPT(a_slow_reader_holds_up_itself_alone)
{
    ensign_call_desc_t d = streaming();
    uint32_t slow, quick;
    stream_t *a, *b;
    size_t i;
    w->desc.connection_window = 65535;
    warm(w);
    slow = call(w, &d);
    a = world_stream(w, 1);
    quick = call(w, &d);
    b = world_stream(w, 2);
    for (i = 0; i < 40; i++) send_pattern(a, i, 10000);
    for (i = 0; i < 40; i++) send_pattern(b, i, 10000);
    peer_finish(a, 0, NULL, NULL);
    peer_finish(b, 0, NULL, NULL);
    world_await(w, quick, ENSIGN_NOTICE_HEADERS);
    for (i = 0; i < 40; i++)
        check_pattern(w, world_expect(w, quick, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, i, 10000);
    world_end(w, quick, ENSIGN_GRPC_OK);
    assert_true(a->out_at <= 65536);
    world_await(w, slow, ENSIGN_NOTICE_HEADERS);
    for (i = 0; i < 40; i++)
        check_pattern(w, world_expect(w, slow, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, i, 10000);
    world_end(w, slow, ENSIGN_GRPC_OK);
}

SCRIPT(a_message_over_the_limit)
{
    ensign_call_desc_t d = streaming();
    stream_t *s;
    uint32_t k;
    world_create(w);
    d.max_message_bytes = 1000;
    k = call(w, &d);
    s = world_stream(w, 0);
    send_pattern(s, 0, 1000);
    send_pattern(s, 1, 1001);
    world_await(w, k, ENSIGN_NOTICE_HEADERS);
    check_pattern(w, world_expect(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, 0, 1000);
    assert_int_equal(world_expect(w, k, ENSIGN_NOTICE_END)->as.end.status, ENSIGN_GRPC_RESOURCE_EXHAUSTED);
    k = call(w, &d);
    s = world_stream(w, 1);
    peer_prefix(s, 0, 0xffffffff);
    peer_resume(s);
    peer_open(s);
    assert_false(world_end(w, k, ENSIGN_GRPC_RESOURCE_EXHAUSTED)->as.end.from_server);
    world_until(w, s->reset);
}

SCRIPT(a_compressed_message_that_was_not_agreed)
{
    ensign_call_desc_t d = streaming();
    stream_t *s;
    uint32_t k;
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    peer_message(s, "plain", 5);
    peer_prefix(s, 1, 3);
    peer_raw(s, "xyz", 3);
    world_await(w, k, ENSIGN_NOTICE_HEADERS);
    assert_text(world_expect(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "plain");
    assert_int_equal(world_expect(w, k, ENSIGN_NOTICE_END)->as.end.status, ENSIGN_GRPC_INTERNAL);
    world_until(w, s->reset);
}

/* Of what the call accepts; its messages are given as they came, each with its own flag. */
SCRIPT(a_compressed_message_that_was_agreed)
{
    ensign_call_desc_t d = streaming();
    const ensign_notice_t *n;
    stream_t *s;
    uint32_t k;
    world_create(w);
    d.accept_encoding = "gzip";
    k = call(w, &d);
    s = world_stream(w, 0);
    assert_string_equal(peer_field(s, "grpc-accept-encoding"), "gzip");
    peer_headers(s, "200", "content-type", "application/grpc", "grpc-encoding", "gzip", NULL);
    peer_prefix(s, 1, 3);
    peer_raw(s, "xyz", 3);
    peer_message(s, "plain", 5);
    world_await(w, k, ENSIGN_NOTICE_HEADERS);
    n = world_expect(w, k, ENSIGN_NOTICE_MESSAGE);
    assert_true(n->as.message.compressed);
    assert_text(n->as.message.bytes, "xyz");
    n = world_expect(w, k, ENSIGN_NOTICE_MESSAGE);
    assert_false(n->as.message.compressed);
    assert_text(n->as.message.bytes, "plain");
    peer_prefix(s, 2, 3); /* no flag of gRPC's */
    peer_raw(s, "abc", 3);
    assert_int_equal(world_expect(w, k, ENSIGN_NOTICE_END)->as.end.status, ENSIGN_GRPC_INTERNAL);
    d.unary = true;
    d.request = text_slice("x");
    k = call(w, &d);
    s = world_stream(w, 1);
    peer_headers(s, "200", "content-type", "application/grpc", "grpc-encoding", "gzip", NULL);
    peer_prefix(s, 1, 3);
    peer_raw(s, "xyz", 3);
    peer_finish(s, 0, NULL, NULL);
    n = world_reply(w, k, ENSIGN_GRPC_OK);
    assert_true(n->as.reply.compressed);
    assert_text(n->as.reply.message, "xyz");
    k = call(w, &d); /* accepted, but the server did not say what it is */
    s = world_stream(w, 2);
    peer_prefix(s, 1, 3);
    peer_raw(s, "xyz", 3);
    peer_finish(s, 0, NULL, NULL);
    world_reply(w, k, ENSIGN_GRPC_INTERNAL);
}

SCRIPT(a_stream_that_ends_inside_a_message)
{
    ensign_call_desc_t d = streaming();
    stream_t *s;
    uint32_t k;
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    peer_message(s, "whole", 5);
    peer_prefix(s, 0, 10);
    peer_raw(s, "half", 4);
    peer_finish(s, 0, NULL, NULL);
    world_await(w, k, ENSIGN_NOTICE_HEADERS);
    assert_text(world_expect(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "whole");
    assert_int_not_equal(world_expect(w, k, ENSIGN_NOTICE_END)->as.end.status, ENSIGN_GRPC_OK);
}

/* ------------------------------------------------------------------ kinds of call */
SCRIPT(client_streaming)
{
    static const char *const parts[] = { "one", "", "three", "four and more" };
    ensign_call_desc_t d = streaming();
    ensign_slice_t m;
    uint8_t *room = NULL;
    stream_t *s;
    uint32_t k;
    size_t i;
    world_create(w);
    k = call(w, &d);
    for (i = 0; i < COUNT(parts); i++) assert_int_equal(send_text(w, k, parts[i]), ENSIGN_OK);
    assert_int_equal(ensign_call_reserve(w->client, as_call(k), 100, &room), ENSIGN_OK);
    memcpy(room, "reserved", 8);
    assert_int_equal(ensign_call_commit(w->client, as_call(k), 8, 0), ENSIGN_OK);
    assert_int_equal(ensign_call_half_close(w->client, as_call(k)), ENSIGN_OK);
    assert_int_equal(send_text(w, k, "late"), ENSIGN_E_STATE);
    assert_true(ensign_call_half_close(w->client, as_call(k)) <= 0);
    s = world_stream(w, 0);
    world_until(w, s->half_closed);
    for (i = 0; i < COUNT(parts); i++) assert_text(world_request(w, s), parts[i]);
    assert_text(world_request(w, s), "reserved");
    assert_false(peer_take(s, &m));
    assert_int_equal(s->in_at, s->in.len);
    peer_message(s, "5", 1);
    peer_finish(s, 0, NULL, NULL);
    assert_text(world_await(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "5");
    world_end(w, k, ENSIGN_GRPC_OK);
}

SCRIPT(ping_pong)
{
    ensign_call_desc_t d = streaming();
    stream_t *s;
    uint32_t k;
    int i;
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    for (i = 0; i < 20; i++) {
        char text[32];
        snprintf(text, sizeof text, "ball %d", i);
        assert_int_equal(send_text(w, k, text), ENSIGN_OK);
        assert_text(world_request(w, s), text);
        assert_false(s->half_closed);
        peer_message(s, text, strlen(text));
        assert_text(world_await(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, text);
    }
    assert_int_equal(ensign_call_half_close(w->client, as_call(k)), ENSIGN_OK);
    world_until(w, s->half_closed);
    peer_finish(s, 0, NULL, NULL);
    world_end(w, k, ENSIGN_GRPC_OK);
}

SCRIPT(a_server_may_end_before_the_client_has)
{
    ensign_call_desc_t d = streaming();
    stream_t *s;
    uint32_t k;
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    peer_message(s, "bye", 3);
    peer_finish(s, 9, "enough", NULL);
    assert_text(world_await(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "bye");
    assert_text(world_end(w, k, ENSIGN_GRPC_FAILED_PRECONDITION)->as.end.text, "enough");
    world_until(w, s->reset || s->half_closed);
}

SCRIPT(unary_wants_exactly_one_answer)
{
    ensign_call_desc_t d = unary("q");
    stream_t *s;
    uint32_t k;
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    peer_finish(s, 0, NULL, NULL);
    world_reply(w, k, ENSIGN_GRPC_INTERNAL);
    k = call(w, &d);
    s = world_stream(w, 1);
    peer_message(s, "a", 1);
    peer_message(s, "b", 1);
    peer_finish(s, 0, NULL, NULL);
    world_reply(w, k, ENSIGN_GRPC_INTERNAL);
    k = call(w, &d);
    s = world_stream(w, 2);
    peer_refuse(s, 5, "no such thing");
    assert_text(world_reply(w, k, ENSIGN_GRPC_NOT_FOUND)->as.reply.text, "no such thing");
}

/* ------------------------------------------------------------------ deadlines */
static uint64_t timeout_of(world_t *w, const stream_t *s)
{
    const char *t = peer_field(s, "grpc-timeout");
    char *unit = NULL;
    uint64_t v;
    assert_non_null(t);
    v = strtoull(t, &unit, 10);
    if (unit == t || unit - t > 8 || strlen(unit) != 1) world_fail(w, "grpc-timeout: %s", t);
    switch (*unit) {
    case 'n': return v / 1000000;
    case 'u': return v / 1000;
    case 'm': return v;
    case 'S': return v * 1000;
    case 'M': return v * 60000;
    case 'H': return v * 3600000;
    default: world_fail(w, "grpc-timeout: %s", t);
    }
    return 0;
}

SCRIPT(a_deadline_counts_from_the_call)
{
    ensign_call_desc_t d = unary("x");
    uint64_t left, began;
    uint32_t k;
    w->dial[ENSIGN_LINK_RPC] = DIAL_SILENT;
    world_create(w);
    d.deadline_ms = 1000;
    k = call(w, &d);
    began = w->now;
    world_pass(w, 300);
    w->dial[ENSIGN_LINK_RPC] = DIAL_ACCEPT;
    left = timeout_of(w, world_stream(w, 0));
    if (left < 650 || left > 700) world_fail(w, "grpc-timeout is %llu of 700 ms", (unsigned long long)left);
    world_reply(w, k, ENSIGN_GRPC_DEADLINE_EXCEEDED);
    assert_in_range(w->now - began, 1000, 1010);
    world_until(w, w->streams[0]->reset);
    assert_int_equal(w->streams[0]->reset_code, NGHTTP2_CANCEL);
    d.deadline_ms = 4000000000u;
    call(w, &d);
    assert_in_range(timeout_of(w, world_stream(w, 1)), 3999000000u, 4000000000u);
    d.deadline_ms = 1;
    k = call(w, &d);
    world_reply(w, k, ENSIGN_GRPC_DEADLINE_EXCEEDED);
}

SCRIPT(a_deadline_while_connecting)
{
    ensign_call_desc_t d = unary("x");
    uint64_t began = w->now;
    uint32_t k;
    w->dial[ENSIGN_LINK_RPC] = DIAL_SILENT;
    world_create(w);
    d.deadline_ms = 500;
    d.wait_for_ready = true;
    k = call(w, &d);
    assert_false(world_reply(w, k, ENSIGN_GRPC_DEADLINE_EXCEEDED)->as.reply.from_server);
    assert_in_range(w->now - began, 500, 510);
}

SCRIPT(a_deadline_in_the_queue)
{
    ensign_call_desc_t d = streaming();
    uint64_t began;
    uint32_t first, second;
    world_setting(w, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1);
    warm(w);
    first = call(w, &d);
    world_stream(w, 1);
    d.deadline_ms = 200;
    began = w->now;
    second = call(w, &d);
    world_end(w, second, ENSIGN_GRPC_DEADLINE_EXCEEDED);
    assert_in_range(w->now - began, 200, 210);
    assert_int_equal(w->stream_count, 2);
    peer_refuse(w->streams[1], 5, "gone");
    world_end(w, first, ENSIGN_GRPC_NOT_FOUND);
    world_settle(w);
    assert_int_equal(w->stream_count, 2);
}

SCRIPT(a_deadline_drops_what_is_queued)
{
    ensign_call_desc_t d = streaming();
    uint32_t k;
    stream_t *s;
    world_create(w);
    d.deadline_ms = 400;
    k = call(w, &d);
    s = world_stream(w, 0);
    peer_message(s, "one", 3);
    peer_message(s, "two", 3);
    world_await(w, k, ENSIGN_NOTICE_HEADERS);
    assert_text(world_expect(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "one");
    world_settle(w);
    world_pass(w, 500);
    assert_int_equal(world_expect(w, k, ENSIGN_NOTICE_END)->as.end.status, ENSIGN_GRPC_DEADLINE_EXCEEDED);
    world_until(w, s->reset);
    assert_int_equal(s->reset_code, NGHTTP2_CANCEL);
}

/* ------------------------------------------------------------------ what a deadline tells */
static ensign_call_desc_t unary_until(uint32_t deadline_ms)
{
    ensign_call_desc_t d = unary("x");
    d.deadline_ms = deadline_ms;
    d.wait_for_ready = true;
    return d;
}

static void ends_in_vain(world_t *w, uint32_t handle, int status, const char *begins, const char *words)
{
    const ensign_notice_t *n = world_end(w, handle, status);
    if (strncmp(n->error->text, begins, strlen(begins)) != 0 || !strstr(n->error->text, words))
        world_fail(w, "END does not tell of \"%s..%s\": %s", begins, words, n->error->text);
}

/* So with a stream, a query, and a request whose close has a limit. */
static void streams_wait_in_vain(world_t *w, const char *words)
{
    static const char late[] = "call: the deadline passed before it could be sent: ";
    ensign_call_desc_t d = streaming();
    ensign_query_desc_t q;
    size_t streams = w->stream_count;
    uint32_t stream, query, closing;
    memset(&q, 0, sizeof q);
    q.sql = "SELECT * FROM weather";
    d.deadline_ms = q.timeout_ms = w->desc.request_timeout_ms;
    d.wait_for_ready = true;
    stream = call(w, &d);
    query = ensign_query_open(w->client, &q).id;
    closing = ensign_topic_list(w->client, NULL).id;
    assert_int_equal(ensign_close(w->client, closing, w->desc.request_timeout_ms / 2), ENSIGN_OK);
    ends_in_vain(w, closing, ENSIGN_GRPC_CANCELLED, "request: not ended within the time of ensign_close: ", words);
    ends_in_vain(w, stream, ENSIGN_GRPC_DEADLINE_EXCEEDED, late, words);
    ends_in_vain(w, query, ENSIGN_GRPC_DEADLINE_EXCEEDED, late, words);
    world_settle(w);
    assert_int_equal(w->stream_count, streams);
}

/* A unary call and a request that are never sent: no WAITING, and the last notice names what held them up. */
static void waits_in_vain(world_t *w, const char *words)
{
    ensign_call_desc_t d = unary_until(w->desc.request_timeout_ms);
    uint64_t began = w->now;
    size_t streams = w->stream_count;
    unsigned waits = w->waits;
    const ensign_notice_t *n;
    uint32_t k = call(w, &d), r = ensign_topic_list(w->client, NULL).id;
    n = world_reply(w, k, ENSIGN_GRPC_DEADLINE_EXCEEDED);
    assert_in_range(w->now - began, d.deadline_ms, d.deadline_ms + 10);
    assert_int_equal(n->error->code, ENSIGN_E_DEADLINE_EXCEEDED);
    assert_true(n->as.reply.unprocessed);
    assert_false(n->as.reply.from_server);
    if (!strstr(n->error->text, "the deadline passed before it could be sent: ") ||
        !strstr(n->error->text, words))
        world_fail(w, "REPLY does not tell of \"%s\": %s", words, n->error->text);
    n = world_expect(w, r, ENSIGN_NOTICE_END);
    assert_in_range(w->now - began, d.deadline_ms, d.deadline_ms + 20);
    assert_true(n->last);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_DEADLINE_EXCEEDED);
    assert_int_equal(n->error->code, ENSIGN_E_DEADLINE_EXCEEDED);
    if (!strstr(n->error->text, "request_timeout_ms: ") || !strstr(n->error->text, words))
        world_fail(w, "END does not tell of \"%s\": %s", words, n->error->text);
    world_settle(w);
    assert_int_equal(w->stream_count, streams);
    assert_int_equal(w->waits, waits);
    streams_wait_in_vain(w, words);
}

SCRIPT(a_deadline_tells_of_the_connection)
{
    w->desc.request_timeout_ms = 3000;
    w->desc.backoff_max_ms = 500; /* there is an attempt in that time */
    w->desc.connect_timeout_ms = 2000;
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    world_create(w);
    waits_in_vain(w, "rpc: cannot connect to localhost:5356");
    assert_true(w->dials[ENSIGN_LINK_RPC] >= 2);
    w->resolve_fails = true;
    waits_in_vain(w, "rpc: the host name localhost has no address");
    w->resolve_fails = false;
    w->dial[ENSIGN_LINK_RPC] = DIAL_SILENT;
    w->desc.request_timeout_ms = 60000; /* of the next client */
    world_close(w);
    world_create(w);
    waits_in_vain(w, "no connection to localhost:5356 within connect_timeout_ms");
}

SCRIPT(a_deadline_tells_that_there_is_no_connection_yet)
{
    w->desc.request_timeout_ms = 1000;
    w->dial[ENSIGN_LINK_RPC] = DIAL_SILENT;
    world_create(w);
    waits_in_vain(w, "waiting for a connection");
}

SCRIPT(a_deadline_tells_of_the_token)
{
    w->desc.request_timeout_ms = 3000;
    w->desc.backoff_max_ms = 500; /* there is an attempt in that time */
    w->auth_manual = true;
    world_create_with_key(w);
    world_until(w, w->auth_requests == 1);
    waits_in_vain(w, "waiting for a token of the auth service");
    auth_answer(w, 500, "");
    world_settle(w);
    waits_in_vain(w, "HTTP 500");
    world_until(w, w->auth_requests == 2);
    world_settle(w);
    auth_answer(w, 429, "");
    world_settle(w);
    waits_in_vain(w, "HTTP 429");
    w->dial[ENSIGN_LINK_AUTH] = DIAL_REFUSE;
    world_cut(w, ENSIGN_LINK_AUTH, ECONNRESET);
    world_pass(w, 2000);
    waits_in_vain(w, "cannot connect to localhost:8088");
}

SCRIPT(a_deadline_tells_of_the_stream_limit)
{
    ensign_call_desc_t d = streaming();
    uint32_t first;
    w->desc.request_timeout_ms = 1000;
    world_setting(w, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1);
    warm(w);
    first = call(w, &d);
    world_stream(w, 1);
    waits_in_vain(w, "MAX_CONCURRENT_STREAMS");
    peer_finish(w->streams[1], 0, NULL, NULL);
    world_end(w, first, ENSIGN_GRPC_OK);
}

/* The connection stands for a call that is still running, and there is no memory for another one beside it. */
SCRIPT(a_deadline_tells_of_a_connection_that_is_to_end)
{
    ensign_call_desc_t d = streaming();
    uint32_t first;
    w->desc.request_timeout_ms = 1000;
    w->desc.memory_limit = 500000;
    warm(w);
    first = call(w, &d);
    peer_goaway(w, world_stream(w, 1)->id, NGHTTP2_NO_ERROR, NULL);
    world_settle(w);
    waits_in_vain(w, "GOAWAY");
    peer_finish(w->streams[1], 0, NULL, NULL);
    world_end(w, first, ENSIGN_GRPC_OK);
}

/* The server takes no more bytes: the call lies behind what waits to be sent. */
SCRIPT(a_deadline_tells_of_a_server_that_does_not_read)
{
    static uint8_t data[60000];
    ensign_call_desc_t big = unary_until(ENSIGN_FOREVER), d = unary_until(1000);
    const ensign_notice_t *n;
    uint32_t k;
    warm(w);
    big.request = slice_of(data, sizeof data);
    for (int i = 0; i < 2; i++) call(w, &big); /* together more than tx holds */
    ensign_tick(w->client, w->now);
    k = call(w, &d);
    ensign_tick(w->client, w->now);
    assert_false(ensign_pending(w->client, k));
    ensign_tick(w->client, w->now += 1000);
    n = world_reply(w, k, ENSIGN_GRPC_DEADLINE_EXCEEDED);
    if (!strstr(n->error->text, "before it could be sent: waiting for localhost:5356 to take"))
        world_fail(w, "%s", n->error->text);
    assert_true(n->as.reply.unprocessed);
}

/* What it had waited for before it was sent is not what it waited for at the end. */
SCRIPT(a_deadline_of_a_sent_call_tells_of_no_obstacle)
{
    ensign_call_desc_t d = unary_until(3000);
    const ensign_notice_t *n;
    uint32_t k;
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    world_create(w);
    k = call(w, &d);
    world_until(w, w->dials[ENSIGN_LINK_RPC] >= 2);
    w->dial[ENSIGN_LINK_RPC] = DIAL_ACCEPT;
    world_request(w, world_stream(w, 0));
    n = world_reply(w, k, ENSIGN_GRPC_DEADLINE_EXCEEDED);
    assert_string_equal(n->error->text, "call: the deadline passed");
    assert_false(n->as.reply.unprocessed);
    assert_int_equal(w->waits, 0);
    world_until(w, w->streams[0]->reset);
    assert_int_equal(w->streams[0]->reset_code, NGHTTP2_CANCEL);
}

/* ------------------------------------------------------------------ cancelling */
SCRIPT(cancel_at_every_stage)
{
    ensign_call_desc_t d = streaming();
    uint32_t k;
    stream_t *s;
    world_create(w);
    k = call(w, &d);
    assert_int_equal(ensign_cancel(w->client, k), ENSIGN_OK);
    assert_false(world_end(w, k, ENSIGN_GRPC_CANCELLED)->as.end.from_server);
    world_settle(w);
    assert_int_equal(w->stream_count, 0);
    k = call(w, &d);
    s = world_stream(w, 0);
    assert_int_equal(ensign_cancel(w->client, k), ENSIGN_OK);
    world_end(w, k, ENSIGN_GRPC_CANCELLED);
    world_until(w, s->reset);
    assert_int_equal(s->reset_code, NGHTTP2_CANCEL);
    k = call(w, &d);
    s = world_stream(w, 1);
    peer_message(s, "one", 3);
    peer_message(s, "two", 3);
    world_await(w, k, ENSIGN_NOTICE_MESSAGE);
    world_settle(w);
    assert_int_equal(ensign_cancel(w->client, k), ENSIGN_OK);
    assert_int_equal(world_expect(w, k, ENSIGN_NOTICE_END)->as.end.status, ENSIGN_GRPC_CANCELLED);
    world_until(w, s->reset);
    k = call(w, &d);
    s = world_stream(w, 2);
    peer_refuse(s, 5, "first");
    world_settle(w);
    assert_true(ensign_cancel(w->client, k) >= 0);
    assert_text(world_end(w, k, ENSIGN_GRPC_NOT_FOUND)->as.end.text, "first");
}

/* ------------------------------------------------------------------ sending */
SCRIPT(again_then_room_once)
{
    static char big[2001];
    ensign_call_desc_t d = streaming();
    uint32_t k;
    stream_t *s;
    uint8_t *room = NULL;
    memset(big, 'b', sizeof big);
    warm(w);
    peer_setting(w, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0);
    world_settle(w);
    d.send_buffer_bytes = 1000;
    d.max_send_bytes = 2000;
    k = call(w, &d);
    s = world_stream(w, 1);
    assert_int_equal(ensign_call_send(w->client, as_call(k), slice_of(big, 2001), 0), ENSIGN_E_TOO_LARGE);
    assert_int_equal(ensign_call_send(w->client, as_call(k), slice_of(big, 600), 0), ENSIGN_OK);
    assert_int_equal(ensign_call_send(w->client, as_call(k), slice_of(big, 601), 0), ENSIGN_AGAIN);
    assert_int_equal(ensign_call_send(w->client, as_call(k), slice_of(big, 601), 0), ENSIGN_AGAIN);
    assert_int_equal(ensign_call_reserve(w->client, as_call(k), 601, &room), ENSIGN_AGAIN);
    world_silent(w, k);
    peer_setting(w, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 65535);
    world_expect(w, k, ENSIGN_NOTICE_ROOM);
    world_silent(w, k);
    assert_int_equal(world_request(w, s).len, 600);
    assert_int_equal(ensign_call_send(w->client, as_call(k), slice_of(big, 601), 0), ENSIGN_OK);
    assert_int_equal(world_request(w, s).len, 601);
    world_silent(w, k);
    assert_int_equal(ensign_call_send(w->client, as_call(k), slice_of(big, 1500), 0), ENSIGN_OK);
    assert_int_equal(world_request(w, s).len, 1500);
    assert_int_equal(ensign_call_half_close(w->client, as_call(k)), ENSIGN_OK);
    world_until(w, s->half_closed);
}

/* A ROOM that waits when the call is half-closed, or closed, would invite a message that can only fail. */
SCRIPT(no_room_after_a_half_close)
{
    static char big[1000];
    warm(w);
    for (size_t i = 0; i < 2; i++) {
        ensign_call_desc_t d = streaming();
        uint32_t k;
        stream_t *s;
        d.send_buffer_bytes = 1000;
        peer_setting(w, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0);
        world_settle(w);
        k = call(w, &d);
        s = world_stream(w, 1 + i);
        assert_int_equal(ensign_call_send(w->client, as_call(k), slice_of(big, 600), 0), ENSIGN_OK);
        assert_int_equal(ensign_call_send(w->client, as_call(k), slice_of(big, 600), 0), ENSIGN_AGAIN);
        peer_setting(w, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 65535);
        assert_int_equal(world_request(w, s).len, 600);
        world_settle(w);
        assert_true(ensign_pending(w->client, k)); /* ROOM */
        if (i == 0) assert_int_equal(ensign_call_half_close(w->client, as_call(k)), ENSIGN_OK);
        else assert_int_equal(ensign_close(w->client, k, ENSIGN_FOREVER), ENSIGN_OK);
        world_silent(w, k);
        peer_finish(s, 0, NULL, NULL);
        world_end(w, k, ENSIGN_GRPC_OK);
    }
}

SCRIPT(a_server_that_does_not_read_holds_up_one_call)
{
    static char big[60000];
    ensign_call_desc_t d = streaming();
    uint32_t k, other;
    stream_t *s, *t;
    int sent = 0, got = 0;
    warm(w);
    k = call(w, &d);
    s = world_stream(w, 1);
    s->unread = true;
    while (ensign_call_send(w->client, as_call(k), slice_of(big, sizeof big), 0) == ENSIGN_OK) {
        world_settle(w);
        assert_true(++sent < 10);
    }
    assert_int_equal(s->in.len, 65535);
    other = call(w, &d);
    assert_int_equal(send_text(w, other, "passes"), ENSIGN_OK);
    t = world_stream(w, 2);
    assert_text(world_request(w, t), "passes");
    peer_read_on(s);
    world_await(w, k, ENSIGN_NOTICE_ROOM);
    for (got = 0; got < sent; got++) assert_int_equal(world_request(w, s).len, sizeof big);
}

/* ------------------------------------------------------------------ queues and connections */
SCRIPT(one_stream_at_a_time_and_in_order)
{
    uint32_t k[5];
    size_t i;
    char text[8];
    world_setting(w, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1);
    warm(w);
    for (i = 0; i < 5; i++) {
        ensign_call_desc_t d;
        snprintf(text, sizeof text, "q%d", (int)i);
        d = unary(text);
        k[i] = call(w, &d);
    }
    for (i = 0; i < 5; i++) {
        stream_t *s = world_stream(w, 1 + i);
        snprintf(text, sizeof text, "q%d", (int)i);
        assert_text(world_request(w, s), text);
        world_settle(w);
        assert_int_equal(w->stream_count, 2 + i);
        peer_message(s, text, 2);
        peer_finish(s, 0, NULL, NULL);
        assert_text(world_reply(w, k[i], ENSIGN_GRPC_OK)->as.reply.message, text);
    }
}

SCRIPT(a_changed_stream_limit_is_kept)
{
    ensign_call_desc_t d = streaming();
    size_t i;
    warm(w);
    peer_setting(w, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 2);
    world_settle(w);
    for (i = 0; i < 4; i++) call(w, &d);
    world_settle(w);
    assert_int_equal(w->stream_count, 3);
    peer_setting(w, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 3);
    world_settle(w);
    assert_int_equal(w->stream_count, 4);
    peer_refuse(w->streams[1], 5, "out");
    world_stream(w, 4);
}

/* The first answer fills the window, so the second one has to be given credit before it can be refused. */
SCRIPT(a_second_answer_is_refused_and_not_waited_for)
{
    static char answer[1019];
    ensign_call_desc_t d = unary("q");
    uint32_t k;
    stream_t *s;
    world_create(w);
    d.window_bytes = 1024;
    k = call(w, &d);
    s = world_stream(w, 0);
    world_request(w, s);
    peer_message(s, answer, sizeof answer);
    peer_message(s, answer, sizeof answer);
    assert_non_null(strstr(world_reply(w, k, ENSIGN_GRPC_INTERNAL)->error->text, "more than one answer"));
}

SCRIPT(calls_above_a_goaway_are_sent_again)
{
    uint32_t k[3];
    stream_t *s;
    size_t i;
    char text[8];
    warm(w);
    for (i = 0; i < 3; i++) {
        ensign_call_desc_t d;
        snprintf(text, sizeof text, "q%d", (int)i);
        d = unary(text);
        k[i] = call(w, &d);
        world_stream(w, 1 + i);
    }
    peer_goaway(w, w->streams[1]->id, NGHTTP2_NO_ERROR, NULL);
    world_settle(w);
    peer_message(w->streams[1], "a0", 2);
    peer_finish(w->streams[1], 0, NULL, NULL);
    assert_text(world_reply(w, k[0], ENSIGN_GRPC_OK)->as.reply.message, "a0");
    for (i = 1; i < 3; i++) {
        s = world_stream(w, 3 + i);
        assert_int_equal(s->conn->number, 1);
        snprintf(text, sizeof text, "q%d", (int)i);
        assert_text(world_request(w, s), text);
        peer_message(s, text, 2);
        peer_finish(s, 0, NULL, NULL);
        assert_text(world_reply(w, k[i], ENSIGN_GRPC_OK)->as.reply.message, text);
    }
}

SCRIPT(a_call_is_sent_again_once)
{
    ensign_call_desc_t d = unary("again");
    const ensign_notice_t *n;
    stream_t *s;
    uint32_t k;
    warm(w);
    k = call(w, &d);
    peer_reset(world_stream(w, 1), NGHTTP2_REFUSED_STREAM);
    s = world_stream(w, 2);
    assert_text(world_request(w, s), "again");
    peer_reset(s, NGHTTP2_REFUSED_STREAM);
    n = world_reply(w, k, ENSIGN_GRPC_UNAVAILABLE);
    assert_true(n->as.reply.unprocessed);
    world_settle(w);
    assert_int_equal(w->stream_count, 3);
    k = call(w, &d);
    peer_reset(world_stream(w, 3), NGHTTP2_REFUSED_STREAM);
    s = world_stream(w, 4);
    peer_message(s, "yes", 3);
    peer_finish(s, 0, NULL, NULL);
    assert_text(world_reply(w, k, ENSIGN_GRPC_OK)->as.reply.message, "yes");
}

SCRIPT(a_graceful_stop_lets_calls_finish)
{
    ensign_call_desc_t d = streaming();
    uint32_t k, later;
    stream_t *s;
    warm(w);
    k = call(w, &d);
    s = world_stream(w, 1);
    peer_message(s, "one", 3);
    assert_text(world_await(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "one");
    peer_goaway_notice(w);
    world_settle(w);
    later = call(w, &d);
    world_settle(w);
    peer_goaway_behind(s);
    world_settle(w);
    assert_int_equal(send_text(w, k, "still open"), ENSIGN_OK);
    assert_text(world_request(w, s), "still open");
    peer_message(s, "two", 3);
    peer_finish(s, 0, NULL, NULL);
    assert_text(world_await(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "two");
    world_end(w, k, ENSIGN_GRPC_OK);
    s = world_stream(w, 2);
    assert_int_equal(s->conn->number, 1);
    peer_refuse(s, 5, "here");
    world_end(w, later, ENSIGN_GRPC_NOT_FOUND);
}

SCRIPT(a_lost_link_is_unavailable)
{
    ensign_call_desc_t d = unary("sent");
    uint32_t k, ready, at_once;
    uint64_t now;
    warm(w);
    k = call(w, &d);
    world_request(w, world_stream(w, 1));
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    assert_false(world_reply(w, k, ENSIGN_GRPC_UNAVAILABLE)->as.reply.from_server);
    world_hear(w);
    d.wait_for_ready = true;
    ready = call(w, &d);
    world_until(w, w->dials[ENSIGN_LINK_RPC] >= 4);
    world_hear(w);
    assert_true(w->disconnected >= 1);
    d.wait_for_ready = false;
    at_once = call(w, &d);
    now = w->now;
    world_reply(w, at_once, ENSIGN_GRPC_UNAVAILABLE);
    assert_int_equal(w->now, now);
    w->dial[ENSIGN_LINK_RPC] = DIAL_ACCEPT;
    peer_refuse(world_stream(w, 2), 5, "seen");
    world_reply(w, ready, ENSIGN_GRPC_NOT_FOUND);
    assert_int_equal(w->stream_count, 3);
}

/* Whole messages that came before the link broke are given, then END. */
SCRIPT(a_lost_link_leaves_whole_messages)
{
    ensign_call_desc_t d = streaming();
    uint32_t k;
    stream_t *s;
    warm(w);
    k = call(w, &d);
    s = world_stream(w, 1);
    peer_message(s, "one", 3);
    peer_message(s, "two", 3);
    peer_prefix(s, 0, 100);
    peer_raw(s, "half", 4);
    world_until(w, s->out_at == s->out.len);
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    world_await(w, k, ENSIGN_NOTICE_HEADERS);
    assert_text(world_expect(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "one");
    assert_text(world_expect(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "two");
    world_expect(w, k, ENSIGN_NOTICE_END);
}

SCRIPT(pings_are_answered_while_nobody_reads)
{
    ensign_call_desc_t d = streaming();
    stream_t *s;
    size_t i;
    warm(w);
    call(w, &d);
    s = world_stream(w, 1);
    for (i = 0; i < 20; i++) send_pattern(s, i, 10000);
    world_settle(w);
    for (i = 0; i < 5; i++) nghttp2_submit_ping(s->conn->session, NGHTTP2_FLAG_NONE, NULL);
    world_settle(w);
    assert_int_equal(s->conn->ping_acks, 5);
}

SCRIPT(closing_a_streaming_call_half_closes_it)
{
    ensign_call_desc_t d = streaming();
    uint32_t k;
    stream_t *s;
    world_create(w);
    k = call(w, &d);
    assert_int_equal(send_text(w, k, "said before"), ENSIGN_OK);
    assert_int_equal(ensign_close(w->client, k, ENSIGN_FOREVER), ENSIGN_OK);
    assert_int_equal(send_text(w, k, "said after"), ENSIGN_E_STATE);
    s = world_stream(w, 0);
    assert_text(world_request(w, s), "said before");
    world_until(w, s->half_closed);
    assert_int_equal(s->in_at, s->in.len);
    world_pass(w, 60000); /* no limit */
    peer_message(s, "last", 4);
    peer_finish(s, 0, NULL, NULL);
    world_expect(w, k, ENSIGN_NOTICE_HEADERS);
    assert_text(world_expect(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "last");
    world_settle(w);
    assert_int_equal(ensign_close(w->client, k, 0), ENSIGN_OK); /* its END waits: nothing changes */
    world_pass(w, 1000);
    assert_null(world_end(w, k, ENSIGN_GRPC_OK)->error);
    assert_int_equal(ensign_close(w->client, k, 0), ENSIGN_E_HANDLE);
    assert_false(s->reset);
}

/* As by ensign_cancel: what is here is dropped. A second close counts from its own beginning. */
SCRIPT(closing_a_streaming_call_has_a_limit)
{
    ensign_call_desc_t d = streaming();
    const ensign_notice_t *n;
    uint64_t began = w->now;
    uint32_t k;
    stream_t *s;
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    assert_int_equal(ensign_close(w->client, k, 500), ENSIGN_OK);
    world_pass(w, 400);
    assert_true(s->half_closed);
    assert_int_equal(ensign_close(w->client, k, 500), ENSIGN_OK);
    peer_message(s, "one", 3);
    peer_message(s, "two", 3);
    world_await(w, k, ENSIGN_NOTICE_HEADERS);
    assert_text(world_expect(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "one");
    world_pass(w, 400);
    assert_false(s->reset);
    world_until(w, s->reset);
    assert_int_equal(s->reset_code, NGHTTP2_CANCEL);
    assert_in_range(w->now - began, 900, 910);
    assert_text(world_expect(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "two"); /* it was here */
    n = world_expect(w, k, ENSIGN_NOTICE_END);
    assert_true(n->last);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_CANCELLED);
    assert_int_equal(n->error->code, ENSIGN_E_CANCELLED);
    assert_int_equal(n->as.end.count, 2);
    assert_false(n->as.end.from_server);
}

SCRIPT(cancelling_the_client_ends_every_call_at_once)
{
    ensign_call_desc_t d = streaming(), u = unary("q");
    const ensign_notice_t *n;
    uint64_t began;
    uint32_t a, b;
    warm(w);
    a = call(w, &d);
    b = call(w, &u);
    peer_message(world_stream(w, 1), "one", 3);
    peer_message(world_stream(w, 2), "two", 3);
    world_settle(w);
    began = w->now;
    assert_int_equal(ensign_cancel(w->client, ENSIGN_CLIENT), ENSIGN_OK);
    n = world_expect(w, a, ENSIGN_NOTICE_END);
    assert_true(n->last);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_CANCELLED);
    assert_int_equal(n->error->code, ENSIGN_E_CANCELLED);
    assert_int_equal(world_reply(w, b, ENSIGN_GRPC_CANCELLED)->error->code, ENSIGN_E_CANCELLED);
    assert_int_equal(ensign_call_open(w->client, &d).id, 0);
    assert_int_equal(ensign_error(w->client)->code, ENSIGN_E_STATE);
    assert_true(world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED)->last);
    assert_int_equal(w->now, began);
}

SCRIPT(closing_ends_every_call)
{
    ensign_call_desc_t d = streaming();
    uint32_t a, b;
    warm(w);
    a = call(w, &d);
    world_stream(w, 1);
    b = call(w, &d);
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 1000), ENSIGN_OK);
    assert_int_equal(ensign_call_open(w->client, &d).id, 0);
    assert_int_equal(world_end(w, a, ENSIGN_GRPC_CANCELLED)->error->code, ENSIGN_E_CANCELLED);
    assert_int_equal(world_end(w, b, ENSIGN_GRPC_CANCELLED)->error->code, ENSIGN_E_CANCELLED);
    assert_true(world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED)->type == ENSIGN_NOTICE_CLOSED);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(unary_call_and_its_bytes), IN_MODES(an_empty_request_is_a_message_too),
        IN_MODES(a_unary_request_may_follow), IN_MODES(a_unary_call_ends_without_its_request),
        IN_MODES(a_request_that_follows_goes_with_the_next_attempt),
        IN_MODES(a_request_that_follows_is_the_only_one), IN_MODES(an_error_of_the_caller),
        IN_MODES(messages_of_all_sizes_through_all_windows), IN_MODES(frames_may_end_anywhere_and_be_padded),
        IN_MODES(credit_goes_out_when_the_head_message_needs_it),
        IN_MODES(an_unpulled_call_takes_one_window_and_no_more),
        IN_MODES(a_slow_reader_holds_up_itself_alone), IN_MODES(a_message_over_the_limit),
        IN_MODES(a_compressed_message_that_was_not_agreed), IN_MODES(a_compressed_message_that_was_agreed),
        IN_MODES(a_stream_that_ends_inside_a_message),
        IN_MODES(client_streaming), IN_MODES(ping_pong), IN_MODES(a_server_may_end_before_the_client_has),
        IN_MODES(unary_wants_exactly_one_answer), IN_MODES(a_deadline_counts_from_the_call),
        IN_MODES(a_deadline_while_connecting), IN_MODES(a_deadline_in_the_queue),
        IN_MODES(a_deadline_drops_what_is_queued), IN_MODES(a_deadline_tells_of_the_connection),
        IN_MODES(a_deadline_tells_that_there_is_no_connection_yet), IN_MODES(a_deadline_tells_of_the_token),
        IN_MODES(a_deadline_tells_of_the_stream_limit),
        IN_MODES(a_deadline_tells_of_a_connection_that_is_to_end),
        IN_MODES(a_deadline_tells_of_a_server_that_does_not_read),
        IN_MODES(a_deadline_of_a_sent_call_tells_of_no_obstacle), IN_MODES(cancel_at_every_stage),
        IN_MODES(again_then_room_once), IN_MODES(no_room_after_a_half_close),
        IN_MODES(a_server_that_does_not_read_holds_up_one_call),
        IN_MODES(one_stream_at_a_time_and_in_order), IN_MODES(a_changed_stream_limit_is_kept),
        IN_MODES(a_second_answer_is_refused_and_not_waited_for),
        IN_MODES(calls_above_a_goaway_are_sent_again), IN_MODES(a_call_is_sent_again_once),
        IN_MODES(a_graceful_stop_lets_calls_finish), IN_MODES(a_lost_link_is_unavailable),
        IN_MODES(a_lost_link_leaves_whole_messages), IN_MODES(pings_are_answered_while_nobody_reads),
        IN_MODES(closing_a_streaming_call_half_closes_it), IN_MODES(closing_a_streaming_call_has_a_limit),
        IN_MODES(cancelling_the_client_ends_every_call_at_once), IN_MODES(closing_ends_every_call),
    };
    return cmocka_run_group_tests_name("grpc", tests, NULL, NULL);
}
