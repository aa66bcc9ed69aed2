/* wire.h - a client without sockets, and a server of whole frames and bytes: for grpc.c and auth.c */
#ifndef WIRE_H
#define WIRE_H

#include "plain.h"

enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, GOAWAY = 7 };
enum { END_STREAM = 1, END_HEADERS = 4 };

static ensign_t *client;
static uint64_t now;

static UNUSED void start(const ensign_desc_t *d)
{
    ensign_error_t why;
    now = 1000;
    if (ensign_create(d, &client, &why) != ENSIGN_OK) fail_msg("%s", why.text);
}

static UNUSED void stop(void)
{
    ensign_destroy(client);
    client = NULL;
}

static UNUSED void pass(uint64_t ms)
{
    now += ms;
    assert_int_equal(ensign_tick(client, now), ENSIGN_OK);
}

static UNUSED void dial(int link)
{
    ensign_link_t l;
    ensign_link(client, link, &l);
    assert_int_equal(l.todo, ENSIGN_LINK_DIAL);
    assert_int_equal(ensign_link_up(client, link, l.attempt, 0, now), ENSIGN_OK);
}

static UNUSED void hang_up(int link, int native)
{
    ensign_link_t l;
    ensign_link(client, link, &l);
    assert_int_equal(ensign_link_down(client, link, l.attempt, native, now), ENSIGN_OK);
}

static UNUSED void feed(int link, const void *p, size_t n)
{
    size_t cap;
    uint8_t *to = ensign_rx_buf(client, link, &cap);
    assert_non_null(to);
    assert_true(n <= cap);
    memcpy(to, p, n);
    assert_int_equal(ensign_rx_ack(client, link, n, now), ENSIGN_OK);
}

/* Takes what the client sends; its text, up to a NUL, is in `out`. */
static UNUSED size_t drain(int link, char *out, size_t cap)
{
    size_t total = 0, n;
    const uint8_t *p;
    while ((p = ensign_tx_buf(client, link, &n)) != NULL) {
        for (size_t i = 0; i < n && total + i + 1 < cap; i++) out[total + i] = (char)p[i];
        total += n;
        assert_int_equal(ensign_tx_ack(client, link, n), ENSIGN_OK);
    }
    if (cap) out[total < cap ? total : cap - 1] = '\0';
    return total;
}

/* ---- frames */

typedef struct { uint8_t b[70000]; size_t n; } wire_t;

static UNUSED void put_frame(wire_t *w, int type, int flags, uint32_t id, const void *payload, size_t n)
{
    uint8_t *p = w->b + w->n;
    assert_true(w->n + 9 + n <= sizeof w->b);
    ensi_put_be32(p, (uint32_t)n << 8 | (uint32_t)type);
    p[4] = (uint8_t)flags;
    ensi_put_be32(p + 5, id);
    if (n) memcpy(p + 9, payload, n);
    w->n += 9 + n;
}

/* name, value, ..., NULL: literals without indexing and without Huffman codes, of up to 126 bytes. */
static UNUSED void put_header_list(wire_t *w, int flags, uint32_t id, const char *const *list)
{
    uint8_t block[4000];
    size_t n = 0;
    for (int i = 0; list[i]; i++) {
        size_t len = strlen(list[i]);
        assert_true(len < 127 && n + len + 2 < sizeof block);
        if (i % 2 == 0) block[n++] = 0;
        block[n++] = (uint8_t)len;
        memcpy(block + n, list[i], len);
        n += len;
    }
    put_frame(w, HEADERS, flags | END_HEADERS, id, block, n);
}

static UNUSED void put_headers(wire_t *w, int flags, uint32_t id, ...)
{
    const char *list[32];
    size_t n = 0;
    va_list args;
    va_start(args, id);
    do {
        assert_true(n < COUNT(list));
        list[n] = va_arg(args, const char *);
    } while (list[n++] != NULL);
    va_end(args);
    put_header_list(w, flags, id, list);
}

static UNUSED void put_reset(wire_t *w, uint32_t id, uint32_t code)
{
    uint8_t b[4];
    ensi_put_be32(b, code);
    put_frame(w, RST_STREAM, 0, id, b, sizeof b);
}

static UNUSED void put_message(wire_t *w, int flags, uint32_t id, const char *text)
{
    uint8_t b[1000];
    size_t len = strlen(text);
    assert_true(len + 5 <= sizeof b);
    b[0] = 0;
    ensi_put_be32(b + 1, (uint32_t)len);
    memcpy(b + 5, text, len);
    put_frame(w, DATA, flags, id, b, len + 5);
}

static UNUSED void feed_frames(wire_t *w)
{
    feed(ENSIGN_LINK_RPC, w->b, w->n);
    w->n = 0;
}

/* Connects, the server's SETTINGS and all. */
static UNUSED void connect_rpc(void)
{
    static wire_t w;
    pass(1);
    dial(ENSIGN_LINK_RPC);
    w.n = 0;
    put_frame(&w, SETTINGS, 0, 0, NULL, 0);
    feed_frames(&w);
    drain(ENSIGN_LINK_RPC, NULL, 0);
}

static UNUSED void start_plain(void)
{
    ensign_desc_t d = plain_desc();
    start(&d);
}

static UNUSED void start_connected(void)
{
    start_plain();
    connect_rpc();
}

/* ---- calls */

static UNUSED ensign_call_desc_t method(void)
{
    ensign_call_desc_t d;
    memset(&d, 0, sizeof d);
    d.method = "/test.Service/Method";
    return d;
}

/* The call is on the wire afterwards, where it can be. */
static UNUSED ensign_call_t call(const ensign_call_desc_t *d)
{
    ensign_call_t k = ensign_call_open(client, d);
    if (k.id == 0) fail_msg("%s", ensign_error(client)->text);
    pass(1);
    drain(ENSIGN_LINK_RPC, NULL, 0);
    return k;
}

/* The next notice of a call; its HEADERS are passed over. */
static UNUSED const ensign_notice_t *next(ensign_call_t k)
{
    const ensign_notice_t *n = ensign_next_of(client, k.id);
    if (n && n->type == ENSIGN_NOTICE_HEADERS) n = ensign_next_of(client, k.id);
    return n;
}

static UNUSED const ensign_notice_t *end_of(ensign_call_t k, int status)
{
    const ensign_notice_t *n = next(k);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_END);
    assert_int_equal(n->as.end.status, status);
    return n;
}

/* A unary call's one notice. */
static UNUSED const ensign_notice_t *reply_of(ensign_call_t k, int status)
{
    const ensign_notice_t *n = ensign_next_of(client, k.id);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_REPLY);
    assert_int_equal(n->as.reply.status, status);
    assert_true(n->last);
    return n;
}

#endif
