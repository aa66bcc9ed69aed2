/* actor.h - a whole client, without sockets, and a server that the bytes of a fuzz input play
 *
 * The input is read from its front: an operation, what it needs, the next operation. The server is that
 * of ../h2peer.h, so that its frames are well-formed whatever the input says; what is in them, their order,
 * the cuts and the time are the input's. Each target has a table of operations of its own.
 *
 * The actor itself ends the program (WANT) when the client sends what nghttp2 refuses, gives more credit than
 * a buffer holds, takes more memory than its bounds, has no room in rx, or does not come to rest. */
#ifndef ACTOR_H
#define ACTOR_H
#ifndef ENSIGN_IMPLEMENTATION
#define ENSIGN_IMPLEMENTATION
#endif
#include "../../ensign.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEER_PLAIN
#include "../h2peer.h"

#define WANT(x)                                                                                              \
    do {                                                                                                     \
        if (!(x)) {                                                                                          \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x);                                  \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

enum { STREAMS = 48, OUT_MAX = 20000, TURNS_MAX = 1000000, CONNS = 2 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct actor_t {
    ensign_t *c;
    const uint8_t *p, *end; /* the input that is left */
    uint64_t now;
    size_t live, bound; /* bytes out of the alloc hook, and how many they may be */
    conn_t conns[CONNS]; /* one for each link to the server */
    conn_t *conn;        /* the newest that runs, or ran last */
    uint32_t cut, rng; /* 0: whole chunks; else the longest */
    bool refuse;
    stream_t *streams[STREAMS];
    size_t count;
    size_t window; /* of new streams: the most credit that each may have; 0: not looked at */
} actor_t;

/* ------------------------------------------------------------------ the input */
static inline bool input_left(const actor_t *a)
{
    return a->p < a->end;
}

static inline uint8_t input_byte(actor_t *a)
{
    return a->p < a->end ? *a->p++ : 0;
}

static inline uint32_t input_16(actor_t *a)
{
    uint32_t high = input_byte(a);
    return (high << 8) | input_byte(a);
}

/* n bytes, or what is left. */
static inline ensign_slice_t input_bytes(actor_t *a, size_t n)
{
    ensign_slice_t s = { a->p, n };
    if (s.len > (size_t)(a->end - a->p)) s.len = (size_t)(a->end - a->p);
    a->p += s.len;
    return s;
}

static inline ensign_slice_t input_short(actor_t *a)
{
    return input_bytes(a, input_byte(a) % 64);
}

/* ------------------------------------------------------------------ the client's memory */
static inline void *actor_alloc(void *user, void *old, size_t size)
{
    actor_t *a = (actor_t *)user;
    uint8_t *p = old ? (uint8_t *)old - 16 : NULL;
    size_t was = 0;

    if (p) memcpy(&was, p, sizeof was);
    a->live -= was;
    if (size == 0) {
        free(p);
        return NULL;
    }
    p = (uint8_t *)realloc(p, size + 16);
    WANT(p != NULL);
    memcpy(p, &size, sizeof size);
    a->live += size;
    WANT(a->bound == 0 || a->live <= a->bound);
    return p + 16;
}

static inline int64_t actor_wall(void *user)
{
    return 1700000000000 + (int64_t)((actor_t *)user)->now;
}

/* ------------------------------------------------------------------ the server */
static bool peer_keep(conn_t *c, stream_t *s)
{
    actor_t *a = (actor_t *)c->owner;
    if (a->count == STREAMS) return false;
    s->credit_max = a->window;
    a->streams[a->count++] = s;
    if (a->count == STREAMS) a->refuse = true; /* so that no input goes on for ever */
    return true;
}

/* The method's path, which is empty until it has come. */
static inline const char *stream_path(const stream_t *s)
{
    const char *path = peer_field(s, ":path");
    return path ? path : "";
}

/* The connection is gone, and its streams; the other one, if it runs, is the newest now. */
static inline void server_drop(actor_t *a, conn_t *c)
{
    conn_t *other = &a->conns[c == &a->conns[0]];
    for (size_t i = 0; i < a->count; i++)
        if (a->streams[i]->conn == c) a->streams[i]->closed = true;
    conn_drop(c);
    c->out.len = c->out_at = 0;
    if (c == a->conn && other->alive) a->conn = other;
}

/* ------------------------------------------------------------------ bytes between the two */
static inline size_t actor_chunk(actor_t *a, size_t n)
{
    size_t most;
    if (a->cut == 0) return n;
    a->rng = a->rng * 1664525u + 1013904223u;
    most = 1 + (a->rng >> 8) % a->cut;
    return n < most ? n : most;
}

static inline bool actor_send(actor_t *a, conn_t *c)
{
    size_t n = 0;
    const uint8_t *p = ensign_tx_buf(a->c, c->link, &n);

    if (!p || n == 0 || !c->session) return false;
    n = actor_chunk(a, n);
    conn_feed(c, p, n);
    WANT(ensign_tx_ack(a->c, c->link, n) == ENSIGN_OK);
    return true;
}

static inline bool actor_receive(actor_t *a, conn_t *c)
{
    size_t n = conn_fill(c, 1), cap = 0;
    uint8_t *room;

    if (n == 0) return false;
    room = ensign_rx_buf(a->c, c->link, &cap);
    WANT(room != NULL && cap > 0);
    n = actor_chunk(a, n);
    if (n > cap) n = cap;
    memcpy(room, c->out.p + c->out_at, n);
    c->out_at += n;
    WANT(ensign_rx_ack(a->c, c->link, n, a->now) == ENSIGN_OK);
    return true;
}

static inline void actor_cut(actor_t *a, conn_t *c, int native)
{
    server_drop(a, c);
    WANT(ensign_link_down(a->c, c->link, c->attempt, native, a->now) == ENSIGN_OK);
}

static inline bool actor_dial(actor_t *a, conn_t *c, uint32_t attempt)
{
    if (a->refuse) {
        WANT(ensign_link_down(a->c, c->link, attempt, ECONNREFUSED, a->now) == ENSIGN_OK);
        return true;
    }
    a->conn = c;
    c->attempt = attempt;
    c->goaway = false;
    conn_open(c, NULL, 0);
    WANT(ensign_link_up(a->c, c->link, attempt, 0, a->now) == ENSIGN_OK);
    return true;
}

/* What one link wants; false: nothing. */
static inline bool actor_serve(actor_t *a, conn_t *c)
{
    ensign_link_t l;
    bool moved;

    ensign_link(a->c, c->link, &l);
    switch (l.todo) {
    case ENSIGN_LINK_DIAL:
        return actor_dial(a, c, l.attempt);
    case ENSIGN_LINK_RUN:
        WANT(c->session && l.attempt == c->attempt);
        moved = actor_send(a, c);
        ensign_link(a->c, c->link, &l);
        return (l.todo == ENSIGN_LINK_RUN && actor_receive(a, c)) || moved;
    case ENSIGN_LINK_HANGUP:
        c->goaway = true; /* what the server makes of it is nobody's matter any more */
        (void)actor_send(a, c);
        actor_cut(a, c, 0);
        return true;
    default:
        WANT(l.todo == ENSIGN_LINK_IDLE);
        return false;
    }
}

/* One exchange; false: nothing moved. */
static inline bool actor_turn(actor_t *a)
{
    bool moved = false;

    WANT(ensign_tick(a->c, a->now) == ENSIGN_OK);
    WANT(ensign_timeout(a->c, a->now) >= -1);
    for (int i = 0; i < CONNS; i++) moved = actor_serve(a, &a->conns[i]) || moved;
    return moved;
}

/* Until all is quiet; the clock stands. */
static inline void actor_settle(actor_t *a)
{
    int quiet = 0;
    for (uint32_t turns = 0; quiet < 2; turns++) {
        WANT(turns < TURNS_MAX);
        quiet = actor_turn(a) ? 0 : quiet + 1;
    }
}

/* To the next timer, at most `ms` away. False: none runs. */
static inline bool actor_sleep(actor_t *a, uint32_t ms)
{
    int t = ensign_timeout(a->c, a->now);
    if (t < 0) return false;
    if ((uint32_t)t > ms) t = (int)ms;
    a->now += t > 0 ? (uint64_t)t : 1;
    return true;
}

/* ------------------------------------------------------------------ playing the server */
/* Like the peer_ functions, but what comes too late, or is too much, is left out. */
static inline void stream_start(stream_t *s, const bytes_t *fields, bool end)
{
    if (!s->started && !s->closed) peer_start(s, fields, end);
}

static inline bool stream_takes(const stream_t *s, size_t n)
{
    return !s->done && !s->closed && s->out.len <= OUT_MAX && n <= OUT_MAX - s->out.len;
}

static inline void stream_write(stream_t *s, const void *p, size_t n)
{
    if (stream_takes(s, n)) peer_raw(s, p, n);
}

static inline void stream_message(stream_t *s, const void *p, size_t n)
{
    if (stream_takes(s, n + 5)) peer_message(s, p, n);
}

static inline void stream_finish(stream_t *s, bool bare)
{
    if (!s->done && !s->closed) peer_end(s, !bare);
}

static inline void stream_status(stream_t *s, const char *status)
{
    if (s->done || s->closed) return;
    s->trailers.len = 0;
    peer_add(&s->trailers, "grpc-status", status);
    peer_end(s, true);
}

static inline void stream_reset(stream_t *s, uint32_t code)
{
    if (!s->closed) peer_reset(s, code);
}

/* Unless `last` is the largest id, the server must have seen it, or it would break its word: nghttp2 takes no
 * stream after it. */
static inline void actor_goaway(actor_t *a, int32_t last, uint32_t code, ensign_slice_t text)
{
    if (a->conn->session) conn_goaway(a->conn, last, code, text);
}

static inline void actor_setting(actor_t *a, int32_t id, uint32_t value)
{
    if (a->conn->session) (void)conn_setting(a->conn, id, value);
}

static inline void actor_trace(void *user, const ensign_frame_t *f)
{
    char text[1600];
    int len = ensign_frame_text(f, text, sizeof text);
    (void)user;
    WANT(len > 10 && len < (int)sizeof text && (size_t)len == strlen(text));
    WANT(f->link >= 0 && f->link < ENSIGN_MAX_LINKS);
}

/* ------------------------------------------------------------------ the beginning and the end */
static inline void actor_desc(actor_t *a, ensign_desc_t *d)
{
    memset(d, 0, sizeof *d);
    d->endpoint = "127.0.0.1:5356";
    d->tls.off = true;
    d->name = "me";
    d->io = ENSIGN_IO_CALLER;
    d->seed = 7;
    d->user = a;
    d->alloc = actor_alloc;
    d->wall_ms = actor_wall;
    d->trace = actor_trace;
}

/* *d is a desc that can still be changed. */
static inline void actor_prepare(actor_t *a, const uint8_t *data, size_t size, ensign_desc_t *d)
{
    memset(a, 0, sizeof *a);
    for (int i = 0; i < CONNS; i++) {
        a->conns[i].owner = a;
        a->conns[i].link = i == 0 ? ENSIGN_LINK_RPC : ENSIGN_LINK_RPC_2;
    }
    a->conn = &a->conns[0];
    a->p = data;
    a->end = data + size;
    a->now = 1000;
    actor_desc(a, d);
}

static inline void actor_create(actor_t *a, const ensign_desc_t *d)
{
    ensign_error_t why;

    a->bound = ensign_memory_bound(d);
    WANT(ensign_create(d, &a->c, &why) == ENSIGN_OK);
}

static inline void actor_begin(actor_t *a, const uint8_t *data, size_t size)
{
    ensign_desc_t d;

    actor_prepare(a, data, size, &d);
    actor_create(a, &d);
}

/* All that the client took comes back. */
static inline void actor_end(actor_t *a)
{
    ensign_destroy(a->c);
    for (int i = 0; i < CONNS; i++) conn_drop(&a->conns[i]);
    for (size_t i = 0; i < a->count; i++) stream_free(a->streams[i]);
    for (int i = 0; i < CONNS; i++) conn_free(&a->conns[i]);
    WANT(a->live == 0);
}

#endif
