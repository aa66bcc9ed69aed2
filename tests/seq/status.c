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
    const char *p = (const char *)s->fields.p, *end = p + s->fields.len;
    size_t n = 0;
    while (p < end) {
        const char *value = p + strlen(p) + 1;
        if (strcmp(p, name) == 0 && n < cap) out[n++] = value;
        p = value + strlen(value) + 1;
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

SCRIPT(too_much_metadata_ends_its_call_alone)
{
    static char much[9000];
    ensign_call_desc_t d = streaming();
    uint32_t other, k;
    stream_t *s;
    memset(much, 'm', sizeof much - 1);
    world_create(w);
    other = call(w, &d);
    world_stream(w, 0);
    k = call(w, &d);
    s = world_stream(w, 1);
    peer_headers(s, "200", "content-type", "application/grpc", "x-much", much, NULL);
    peer_message(s, "m", 1);
    peer_finish(s, 0, NULL, NULL);
    assert_int_not_equal(world_await(w, k, ENSIGN_NOTICE_END)->as.end.status, ENSIGN_GRPC_OK);
    k = call(w, &d);
    s = world_stream(w, 2);
    peer_message(s, "m", 1);
    peer_finish(s, 0, NULL, "x-much", much, NULL);
    assert_int_not_equal(world_await(w, k, ENSIGN_NOTICE_END)->as.end.status, ENSIGN_GRPC_OK);
    peer_message(world.streams[0], "still here", 10);
    assert_text(world_await(w, other, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "still here");
    assert_int_equal(w->conn_count, 1);
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

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(trailers_only_with_each_status), IN_MODES(a_missing_status_is_unknown),
        IN_MODES(http_statuses_become_grpc_statuses), IN_MODES(resets_become_grpc_statuses),
        IN_MODES(messages_of_a_status_are_percent_decoded), IN_MODES(metadata_goes_out),
        IN_MODES(metadata_comes_in), IN_MODES(too_much_metadata_ends_its_call_alone),
        IN_MODES(illegal_calls_are_refused_here),
    };
    return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
