/* calls.h - what the tests of calls share: descs, and messages whose bytes tell where they belong */
#ifndef CALLS_H
#define CALLS_H

#include "peer.h"

static UNUSED ensign_call_desc_t streaming(void)
{
    ensign_call_desc_t d;
    memset(&d, 0, sizeof d);
    d.method = "/test.Service/Method";
    return d;
}

static UNUSED ensign_call_desc_t unary(const char *request)
{
    ensign_call_desc_t d = streaming();
    d.unary = true;
    d.request = text_slice(request);
    return d;
}

static UNUSED uint32_t call(world_t *w, const ensign_call_desc_t *d)
{
    ensign_call_t k = ensign_call_open(w->client, d);
    if (!k.id) world_fail(w, "ensign_call_open refused a good call");
    return k.id;
}

static UNUSED ensign_call_t as_call(uint32_t id)
{
    ensign_call_t k;
    k.id = id;
    return k;
}

static UNUSED int send_text(world_t *w, uint32_t id, const char *text)
{
    return ensign_call_send(w->client, as_call(id), text_slice(text), 0);
}

/* A call that goes well, so that connection and SETTINGS are there. Its stream is the first. */
static UNUSED void warm(world_t *w)
{
    ensign_call_desc_t d = unary("warm");
    uint32_t k;
    stream_t *s;
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    peer_message(s, "ok", 2);
    peer_finish(s, 0, NULL, NULL);
    world_reply(w, k, ENSIGN_GRPC_OK);
    world_settle(w);
}

static UNUSED uint8_t pattern(size_t message, size_t i)
{
    return (uint8_t)(i * 31 + (i >> 8) * 7 + message * 13);
}

static UNUSED void send_pattern(stream_t *s, size_t message, size_t n)
{
    uint8_t *p = (uint8_t *)malloc(n + 1);
    size_t i;
    assert_non_null(p);
    for (i = 0; i < n; i++) p[i] = pattern(message, i);
    peer_message(s, p, n);
    free(p);
}

static UNUSED void check_pattern(world_t *w, ensign_slice_t m, size_t message, size_t n)
{
    size_t i;
    if (m.len != n) world_fail(w, "message %zu has %zu bytes, %zu were sent", message, m.len, n);
    for (i = 0; i < n; i++) {
        if (m.ptr[i] != pattern(message, i)) world_fail(w, "message %zu differs at byte %zu", message, i);
    }
}

#endif
