/* actor.h - a whole client, without sockets, and a server that the bytes of a fuzz input play
 *
 * The input is read from its front: an operation, what it needs, the next operation. The server is an nghttp2
 * session, so that its frames are well-formed whatever the input says; what is in them, their order, the cuts
 * and the time are the input's. Each target has a table of operations of its own.
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
#include <sys/types.h>
#include <nghttp2/nghttp2.h>

#define WANT(x)                                                                                              \
    do {                                                                                                     \
        if (!(x)) {                                                                                          \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x);                                  \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

enum { STREAMS = 48, OUT_MAX = 20000, IN_MAX = 65536, FIELDS = 12, TURNS_MAX = 1000000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct fields_t {
    nghttp2_nv nv[FIELDS];
    size_t count, used;
    uint8_t text[4096];
} fields_t;

typedef struct actor_t actor_t;
typedef struct stream_t {
    actor_t *actor;
    int32_t id;
    char path[64];
    uint8_t *in, *out; /* DATA of the request; DATA of the answer, sent up to out_at */
    size_t in_len, in_at, out_len, out_at, frame_max, pad;
    size_t window; /* most credit that it may have; 0: not looked at */
    bool headers, half_closed, closed, started, ending, with_trailers, done;
    fields_t trailers;
    int stage;
} stream_t;

struct actor_t {
    ensign_t *c;
    const uint8_t *p, *end; /* the input that is left */
    uint64_t now;
    size_t live, bound;       /* bytes out of the alloc hook, and how many they may be */
    nghttp2_session *session; /* NULL: no connection */
    uint32_t attempt;
    const uint8_t *pending; /* what the server sends, and has not been received yet */
    size_t pending_len;
    uint32_t cut, rng; /* 0: whole chunks; else the longest */
    bool refuse, goaway;
    stream_t streams[STREAMS];
    size_t count;
    size_t window; /* of new streams, see stream_t */
};

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

/* ------------------------------------------------------------------ fields of header blocks */
static inline void fields_add(fields_t *f, ensign_slice_t name, ensign_slice_t value)
{
    nghttp2_nv *nv = &f->nv[f->count];

    if (f->count == FIELDS || name.len + value.len > sizeof f->text - f->used) return;
    memset(nv, 0, sizeof *nv);
    nv->name = f->text + f->used;
    nv->namelen = name.len;
    if (name.len) memcpy(nv->name, name.ptr, name.len);
    nv->value = nv->name + name.len;
    nv->valuelen = value.len;
    if (value.len) memcpy(nv->value, value.ptr, value.len);
    f->used += name.len + value.len;
    f->count++;
}

static inline void fields_text(fields_t *f, const char *name, const char *value)
{
    fields_add(f, ensign_str(name), ensign_str(value));
}

/* ------------------------------------------------------------------ the server */
static inline stream_t *server_stream(nghttp2_session *session, int32_t id)
{
    return (stream_t *)nghttp2_session_get_stream_user_data(session, id);
}

static inline int server_on_begin(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
    actor_t *a = (actor_t *)user;
    stream_t *s = &a->streams[a->count];

    if (f->hd.type != NGHTTP2_HEADERS || f->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    if (a->count == STREAMS) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* the stream is reset */
    memset(s, 0, sizeof *s);
    s->actor = a;
    s->id = f->hd.stream_id;
    s->window = a->window;
    s->in = (uint8_t *)malloc(IN_MAX);
    s->out = (uint8_t *)malloc(OUT_MAX);
    WANT(s->in && s->out);
    if (++a->count == STREAMS) a->refuse = true; /* so that no input goes on for ever */
    nghttp2_session_set_stream_user_data(session, s->id, s);
    return 0;
}

static inline int server_on_header(nghttp2_session *session, const nghttp2_frame *f, const uint8_t *name,
                                   size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                                   void *user)
{
    stream_t *s = server_stream(session, f->hd.stream_id);
    (void)flags;
    (void)user;
    if (s && name_len == 5 && memcmp(name, ":path", 5) == 0)
        snprintf(s->path, sizeof s->path, "%.*s", (int)value_len, (const char *)value);
    return 0;
}

static inline int server_on_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p,
                                  size_t n, void *user)
{
    stream_t *s = server_stream(session, id);
    (void)flags;
    (void)user;
    if (s && n <= IN_MAX - s->in_len) {
        memcpy(s->in + s->in_len, p, n);
        s->in_len += n;
    }
    return 0;
}

static inline int server_on_frame(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
    stream_t *s = f->hd.stream_id ? server_stream(session, f->hd.stream_id) : NULL;
    bool block = f->hd.type == NGHTTP2_HEADERS || f->hd.type == NGHTTP2_DATA;
    (void)user;
    if (s && f->hd.type == NGHTTP2_HEADERS) s->headers = true;
    if (s && block && f->hd.flags & NGHTTP2_FLAG_END_STREAM) s->half_closed = true;
    if (s && s->window && f->hd.type == NGHTTP2_WINDOW_UPDATE)
        WANT(nghttp2_session_get_stream_remote_window_size(session, s->id) <= (int32_t)s->window);
    return 0;
}

static inline int server_on_sent(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
    (void)session;
    if (f->hd.type == NGHTTP2_GOAWAY)
        WANT(((actor_t *)user)->goaway); /* else: it had to end the connection */
    return 0;
}

static inline int server_on_invalid(nghttp2_session *session, const nghttp2_frame *f, int code, void *user)
{
    (void)session;
    (void)f;
    (void)user;
    WANT(code == NGHTTP2_ERR_REFUSED_STREAM); /* it had not heard of the new limit */
    return 0;
}

static inline int server_on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    stream_t *s = server_stream(session, id);
    (void)code;
    (void)user;
    if (s) s->closed = true;
    return 0;
}

static inline ssize_t server_padding(nghttp2_session *session, const nghttp2_frame *f, size_t max, void *user)
{
    stream_t *s = server_stream(session, f->hd.stream_id);
    size_t want = f->hd.length + (s && f->hd.type == NGHTTP2_DATA ? s->pad : 0);
    (void)user;
    return (ssize_t)(want < max ? want : max);
}

static inline ssize_t server_read(nghttp2_session *session, int32_t id, uint8_t *to, size_t cap,
                                  uint32_t *flags, nghttp2_data_source *source, void *user)
{
    stream_t *s = (stream_t *)source->ptr;
    size_t n = s->out_len - s->out_at;
    (void)user;
    if (n == 0 && !s->ending) return NGHTTP2_ERR_DEFERRED;
    if (s->frame_max && n > s->frame_max) n = s->frame_max;
    if (n > cap) n = cap;
    memcpy(to, s->out + s->out_at, n);
    s->out_at += n;
    if (s->out_at < s->out_len || !s->ending) return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (s->with_trailers) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        (void)nghttp2_submit_trailer(session, id, s->trailers.nv, s->trailers.count);
    }
    return (ssize_t)n;
}

static inline void server_open(actor_t *a, uint32_t attempt)
{
    nghttp2_session_callbacks *cb = NULL;

    WANT(nghttp2_session_callbacks_new(&cb) == 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, server_on_begin);
    nghttp2_session_callbacks_set_on_header_callback(cb, server_on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, server_on_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, server_on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, server_on_sent);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, server_on_invalid);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, server_on_close);
    nghttp2_session_callbacks_set_select_padding_callback(cb, server_padding);
    WANT(nghttp2_session_server_new(&a->session, cb, a) == 0);
    nghttp2_session_callbacks_del(cb);
    WANT(nghttp2_submit_settings(a->session, NGHTTP2_FLAG_NONE, NULL, 0) == 0);
    a->attempt = attempt;
    a->goaway = false;
}

static inline void server_drop(actor_t *a)
{
    for (size_t i = 0; i < a->count; i++) a->streams[i].closed = true;
    if (a->session) nghttp2_session_del(a->session);
    a->session = NULL;
    a->pending_len = 0;
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

static inline bool actor_send(actor_t *a)
{
    size_t n = 0;
    const uint8_t *p = ensign_tx_buf(a->c, ENSIGN_LINK_RPC, &n);

    if (!p || n == 0 || !a->session) return false;
    n = actor_chunk(a, n);
    WANT(nghttp2_session_mem_recv(a->session, p, n) == (ssize_t)n);
    WANT(ensign_tx_ack(a->c, ENSIGN_LINK_RPC, n) == ENSIGN_OK);
    return true;
}

static inline bool actor_receive(actor_t *a)
{
    size_t n, cap = 0;
    uint8_t *room;
    ssize_t got;

    if (a->pending_len == 0) {
        got = nghttp2_session_mem_send(a->session, &a->pending);
        WANT(got >= 0);
        a->pending_len = (size_t)got;
    }
    if (a->pending_len == 0) return false;
    room = ensign_rx_buf(a->c, ENSIGN_LINK_RPC, &cap);
    WANT(room != NULL && cap > 0);
    n = actor_chunk(a, a->pending_len);
    if (n > cap) n = cap;
    memcpy(room, a->pending, n);
    a->pending += n;
    a->pending_len -= n;
    WANT(ensign_rx_ack(a->c, ENSIGN_LINK_RPC, n, a->now) == ENSIGN_OK);
    return true;
}

static inline void actor_cut(actor_t *a, int native)
{
    server_drop(a);
    WANT(ensign_link_down(a->c, ENSIGN_LINK_RPC, a->attempt, native, a->now) == ENSIGN_OK);
}

static inline bool actor_dial(actor_t *a, uint32_t attempt)
{
    if (a->refuse) {
        WANT(ensign_link_down(a->c, ENSIGN_LINK_RPC, attempt, ECONNREFUSED, a->now) == ENSIGN_OK);
        return true;
    }
    server_open(a, attempt);
    WANT(ensign_link_up(a->c, ENSIGN_LINK_RPC, attempt, 0, a->now) == ENSIGN_OK);
    return true;
}

/* One exchange; false: nothing moved. */
static inline bool actor_turn(actor_t *a)
{
    ensign_link_t l;
    bool moved;

    WANT(ensign_tick(a->c, a->now) == ENSIGN_OK);
    WANT(ensign_timeout(a->c, a->now) >= -1);
    ensign_link(a->c, ENSIGN_LINK_RPC, &l);
    switch (l.todo) {
    case ENSIGN_LINK_DIAL:
        return actor_dial(a, l.attempt);
    case ENSIGN_LINK_RUN:
        WANT(a->session && l.attempt == a->attempt);
        moved = actor_send(a);
        ensign_link(a->c, ENSIGN_LINK_RPC, &l);
        return (l.todo == ENSIGN_LINK_RUN && actor_receive(a)) || moved;
    case ENSIGN_LINK_HANGUP:
        a->goaway = true; /* what the server makes of it is nobody's matter any more */
        (void)actor_send(a);
        actor_cut(a, 0);
        return true;
    default:
        WANT(l.todo == ENSIGN_LINK_IDLE);
        return false;
    }
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
static inline void stream_start(stream_t *s, const fields_t *f, bool end)
{
    nghttp2_data_provider d;

    if (s->started || s->closed) return;
    s->started = true;
    if (end) s->done = true;
    d.source.ptr = s;
    d.read_callback = server_read;
    WANT(nghttp2_submit_response(s->actor->session, s->id, f->nv, f->count, end ? NULL : &d) == 0);
}

static inline void stream_open(stream_t *s)
{
    fields_t f;
    f.count = f.used = 0;
    fields_text(&f, ":status", "200");
    fields_text(&f, "content-type", "application/grpc");
    stream_start(s, &f, false);
}

static inline void stream_write(stream_t *s, const void *p, size_t n)
{
    if (s->done || s->closed || n > OUT_MAX - s->out_len) return;
    stream_open(s);
    if (n) memcpy(s->out + s->out_len, p, n);
    s->out_len += n;
    (void)nghttp2_session_resume_data(s->actor->session, s->id);
}

/* A message with its prefix; one that does not fit is left out whole. */
static inline void stream_message(stream_t *s, const void *p, size_t n)
{
    uint8_t prefix[5] = { 0 };
    if (n + sizeof prefix > OUT_MAX - s->out_len) return;
    ensi_put_be32(prefix + 1, (uint32_t)n);
    stream_write(s, prefix, sizeof prefix);
    stream_write(s, p, n);
}

/* The end: with what is in s->trailers, or (bare) END_STREAM on DATA. */
static inline void stream_finish(stream_t *s, bool bare)
{
    if (s->done || s->closed) return;
    stream_open(s);
    s->with_trailers = !bare;
    s->ending = s->done = true;
    (void)nghttp2_session_resume_data(s->actor->session, s->id);
}

static inline void stream_status(stream_t *s, const char *status)
{
    if (s->done || s->closed) return;
    s->trailers.count = s->trailers.used = 0;
    fields_text(&s->trailers, "grpc-status", status);
    stream_finish(s, false);
}

static inline void stream_reset(stream_t *s, uint32_t code)
{
    if (s->closed) return;
    s->done = true;
    WANT(nghttp2_submit_rst_stream(s->actor->session, NGHTTP2_FLAG_NONE, s->id, code) == 0);
}

/* The next whole message of the request. */
static inline bool stream_take(stream_t *s, ensign_slice_t *message)
{
    const uint8_t *p = s->in + s->in_at;
    size_t have = s->in_len - s->in_at, n;
    if (have < 5) return false;
    n = ensi_get_be32(p + 1);
    if (have - 5 < n) return false;
    message->ptr = p + 5;
    message->len = n;
    s->in_at += 5 + n;
    return true;
}

/* Largest id: the first step of a graceful stop. Else the server must have seen `last`, or it would break its
 * word: nghttp2 takes no stream after it. */
static inline void actor_goaway(actor_t *a, int32_t last, uint32_t code, ensign_slice_t text)
{
    if (!a->session) return;
    a->goaway = true;
    if (last == INT32_MAX)
        (void)nghttp2_submit_shutdown_notice(a->session);
    else
        WANT(nghttp2_submit_goaway(a->session, NGHTTP2_FLAG_NONE, last, code, text.ptr, text.len) == 0);
}

static inline void actor_setting(actor_t *a, int32_t id, uint32_t value)
{
    nghttp2_settings_entry e;
    e.settings_id = id;
    e.value = value;
    if (a->session) (void)nghttp2_submit_settings(a->session, NGHTTP2_FLAG_NONE, &e, 1);
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
}

/* Everything but the streams' own, which begin when they come; *d is a desc that can still be changed. */
static inline void actor_prepare(actor_t *a, const uint8_t *data, size_t size, ensign_desc_t *d)
{
    memset(a, 0, offsetof(actor_t, streams));
    a->count = a->window = 0;
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
    server_drop(a);
    for (size_t i = 0; i < a->count; i++) {
        free(a->streams[i].in);
        free(a->streams[i].out);
    }
    WANT(a->live == 0);
}

#endif
