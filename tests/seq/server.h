/* server.h - the world of a test: its client, its clock, and the servers that the client meets
 *
 * The HTTP/2 server is an nghttp2 session; its callbacks note what came, and peer_ functions say what
 * it answers. The auth server takes one HTTP/1.1 request at a time. How bytes travel between them and
 * the client is in peer.h. */
#ifndef SERVER_H
#define SERVER_H

#include "bytes.h"

/* ------------------------------------------------------------------ the world */
typedef enum { WHOLE, RANDOM, BYTE, MODES } chunk_t;
typedef enum { DIAL_ACCEPT, DIAL_REFUSE, DIAL_SILENT } dial_t;

typedef struct world_t world_t;
typedef struct conn_t conn_t;

typedef struct stream_t {
    conn_t *conn;
    int32_t id;
    bytes_t fields;                 /* of the request: name NUL value NUL, in order */
    bytes_t in;                     /* DATA of the request; read up to in_at */
    size_t in_at;
    bool headers, half_closed, reset, closed;
    uint32_t reset_code;
    bytes_t out;                    /* DATA of the answer; sent up to out_at */
    size_t out_at;
    bool started, ending, with_trailers, done;
    bytes_t trailers;
    size_t frame_max, pad;          /* of DATA frames; 0: no limit, no padding */
    bool unread;                    /* the server does not read: its window stays shut */
    size_t owed;
    /* credit: what the client granted and may have granted */
    int64_t granted, padded, freed;
    size_t window;                  /* 0: no audit */
    uint32_t handle;
    size_t *sizes, size_count, size_cap, pulled, released;
    /* for hooks */
    bool told, told_half;
    void *user;
    int stage;
} stream_t;

struct conn_t {
    world_t *w;
    int link;
    unsigned number;                /* 0 the first of its link */
    uint32_t attempt;
    bool alive, goaway, client_goaway;
    nghttp2_session *session;       /* NULL: auth */
    bytes_t in, out;                /* in: auth only */
    size_t out_at;
    int64_t bytes_in, bytes_out;    /* as the client sees them */
    int64_t initial_window, granted, data_sent;
    unsigned pings, ping_acks, settings_acks;
    bytes_t tail;                   /* tx that was seen and not acked */
};

#define WORLD_CONNS 400

struct world_t {
    ensign_t *client;
    ensign_desc_t desc;
    ensign_error_t why;
    uint64_t now;
    uint64_t seed, rng;
    chunk_t mode;
    int64_t wall;                   /* Unix ms at now = 0; the client sees wall + now; 0: unknown */
    int links;
    /* servers */
    dial_t dial[ENSIGN_MAX_LINKS];
    bool resolve_fails;
    unsigned dials[ENSIGN_MAX_LINKS], resolves[ENSIGN_MAX_LINKS];
    int64_t cut_in[ENSIGN_MAX_LINKS],
        cut_out[ENSIGN_MAX_LINKS]; /* bytes left until the link is lost; -1: never */
    nghttp2_settings_entry settings[4];
    size_t setting_count;
    conn_t *conn[ENSIGN_MAX_LINKS]; /* the one that runs, or NULL */
    conn_t *conns[WORLD_CONNS];
    size_t conn_count;
    stream_t **streams;
    size_t stream_count, stream_cap;
    void (*on_headers)(world_t *, stream_t *);
    void (*on_message)(world_t *, stream_t *, ensign_slice_t);
    void (*on_half)(world_t *, stream_t *);
    void *user;
    /* auth */
    bool auth_manual;
    unsigned auth_requests;
    char auth_path[64], auth_body[4096], auth_head[4096];
    bool auth_chunked;
    int64_t access_s, overlap_s, refresh_s, server_wall_s;
    char access[512], refresh[512];
    unsigned access_serial;
    /* what the client said about itself */
    unsigned connected, disconnected, failed, client_closed, wakes;
    ensign_error_t last_error;
    uint32_t retry_in_ms;
    unsigned waits, opens, waits_opens; /* WAITING, and OPEN or HEALTH, of handles; opens at the last WAITING */
    uint32_t waits_handle;
    ensign_error_t waits_for;       /* the reason of the last WAITING */
    /* time */
    uint64_t patience_ms;
    uint64_t waited_ms;
    uint64_t rounds;
    unsigned zero_timeouts, pulls_due;
    /* memory */
    uint64_t calls, allocs, fail_at; /* fail_at: the number of the call that fails; 0: none */
    uint32_t fail_in;               /* one of so many fails, at random; 0: none */
    bool failed_once, fail_on;      /* fail_on: every later one too */
    size_t live, live_peak, blocks;
    bool fault;                     /* results of the byte functions may be errors */
    bool finished;
    const char *script;
};

static world_t world;

static UNUSED const char *mode_name(chunk_t m)
{
    return m == WHOLE ? "whole" : m == RANDOM ? "random" : "byte";
}

#define world_fail(w, ...)                                                                                   \
    do {                                                                                                     \
        char text_[600];                                                                                     \
        snprintf(text_, sizeof text_, __VA_ARGS__);                                                          \
        world_die(w, text_);                                                                                 \
    } while (0)

static UNUSED void world_die(world_t *w, const char *text)
{
    const ensign_error_t *e = w->client ? ensign_error(w->client) : NULL;
    fail_msg("%s (script %s, mode %s, SEED=%llu, now %llu ms; client's error: %s)", text,
             w->script ? w->script : "?", mode_name(w->mode), (unsigned long long)w->seed,
             (unsigned long long)w->now, e ? e->text : "-");
}

static UNUSED uint64_t world_rand(world_t *w)
{
    uint64_t z = (w->rng += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static UNUSED uint32_t world_below(world_t *w, uint32_t n)
{
    return n ? (uint32_t)(world_rand(w) % n) : 0;
}

/* ------------------------------------------------------------------ hooks of the client */
static UNUSED void *world_alloc(void *user, void *old, size_t size)
{
    world_t *w = (world_t *)user;
    uint8_t *p = old ? (uint8_t *)old - 16 : NULL;
    size_t was = 0;
    if (p) memcpy(&was, p, sizeof was);
    w->calls++;
    if (size == 0) {
        if (p) w->blocks--;
        w->live -= was;
        free(p);
        return NULL;
    }
    w->allocs++;
    if (w->fail_at && (w->allocs == w->fail_at || (w->fail_on && w->allocs > w->fail_at))) {
        w->failed_once = true;
        return NULL;
    }
    if (w->fail_in && world_below(w, w->fail_in) == 0) return NULL;
    if (!p) w->blocks++;
    p = (uint8_t *)realloc(p, size + 16);
    if (!p) abort();
    memcpy(p, &size, sizeof size);
    w->live = w->live - was + size;
    if (w->live > w->live_peak) w->live_peak = w->live;
    return p + 16;
}

static UNUSED int64_t world_wall(void *user)
{
    world_t *w = (world_t *)user;
    return w->wall ? w->wall + (int64_t)w->now : 0;
}

static UNUSED void world_wake(void *user)
{
    ((world_t *)user)->wakes++;
}

/* ------------------------------------------------------------------ the HTTP/2 server */
static UNUSED const char *peer_field(const stream_t *s, const char *name)
{
    const char *p = (const char *)s->fields.p, *end = p + s->fields.len;
    while (p < end) {
        const char *value = p + strlen(p) + 1;
        if (strcmp(p, name) == 0) return value;
        p = value + strlen(value) + 1;
    }
    return NULL;
}

static UNUSED int peer_on_begin(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
    conn_t *c = (conn_t *)user;
    world_t *w = c->w;
    stream_t *s;
    if (f->hd.type != NGHTTP2_HEADERS || f->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    s = (stream_t *)calloc(1, sizeof *s);
    if (w->stream_count == w->stream_cap) {
        w->stream_cap = w->stream_cap * 2 + 16;
        w->streams = (stream_t **)realloc(w->streams, w->stream_cap * sizeof *w->streams);
    }
    if (!s || !w->streams) abort();
    s->conn = c;
    s->id = f->hd.stream_id;
    s->granted = c->initial_window;
    w->streams[w->stream_count++] = s;
    nghttp2_session_set_stream_user_data(session, f->hd.stream_id, s);
    return 0;
}

static UNUSED int peer_on_header(nghttp2_session *session, const nghttp2_frame *f, const uint8_t *name,
                                 size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                                 void *user)
{
    stream_t *s = (stream_t *)nghttp2_session_get_stream_user_data(session, f->hd.stream_id);
    (void)flags;
    (void)user;
    if (!s || s->headers) return 0;
    bytes_add(&s->fields, name, name_len);
    bytes_add(&s->fields, "", 1);
    bytes_add(&s->fields, value, value_len);
    bytes_add(&s->fields, "", 1);
    return 0;
}

static UNUSED int peer_on_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p,
                                size_t n, void *user)
{
    stream_t *s = (stream_t *)nghttp2_session_get_stream_user_data(session, id);
    (void)flags;
    (void)user;
    nghttp2_session_consume_connection(session, n);
    if (!s) return 0;
    bytes_add(&s->in, p, n);
    if (s->unread) s->owed += n;
    else nghttp2_session_consume_stream(session, id, n);
    return 0;
}

/* Bytes stored and credit outstanding are never more than the buffer, so all that was ever granted is at most
   what was freed, what is lent (the next message may go on in a second buffer, so that it can stand), and one
   buffer: the window, or the whole next message if that is larger. */
static UNUSED void peer_audit(stream_t *s)
{
    size_t lent = s->pulled > s->released ? s->sizes[s->released] : 0;
    size_t head = s->pulled < s->size_count ? s->sizes[s->pulled] : 0;
    size_t buffer = head > s->window ? head : s->window;
    int64_t most = s->freed + s->padded + (int64_t)lent + (int64_t)buffer;
    if (s->window && s->granted > most) {
        world_fail(s->conn->w, "stream %d: %lld granted, %lld freed, %lld padding, %zu lent, a buffer of %zu",
                   (int)s->id, (long long)s->granted, (long long)s->freed, (long long)s->padded, lent,
                   buffer);
    }
}

static UNUSED void peer_on_settings(conn_t *c, const nghttp2_frame *f)
{
    size_t i;
    if (f->hd.flags & NGHTTP2_FLAG_ACK) {
        c->settings_acks++;
        return;
    }
    for (i = 0; i < f->settings.niv; i++) {
        if (f->settings.iv[i].settings_id == NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE) {
            c->initial_window = f->settings.iv[i].value;
        }
        if (f->settings.iv[i].settings_id == NGHTTP2_SETTINGS_ENABLE_PUSH)
            assert_int_equal(f->settings.iv[i].value, 0);
    }
}

static UNUSED void peer_on_window(conn_t *c, stream_t *s, const nghttp2_frame *f)
{
    if (f->hd.stream_id == 0) c->granted += f->window_update.window_size_increment;
    if (!s) return;
    s->granted += f->window_update.window_size_increment;
    peer_audit(s);
}

static UNUSED int peer_on_frame(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
    conn_t *c = (conn_t *)user;
    stream_t *s =
        f->hd.stream_id ? (stream_t *)nghttp2_session_get_stream_user_data(session, f->hd.stream_id) : NULL;
    bool end = (f->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (f->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        if (!s) break;
        s->headers = true;
        if (end) s->half_closed = true;
        if (f->hd.type == NGHTTP2_DATA && f->hd.length == 0 && !end)
            world_fail(c->w, "the client sent an empty DATA frame");
        break;
    case NGHTTP2_RST_STREAM:
        if (s) s->reset = true, s->reset_code = f->rst_stream.error_code;
        break;
    case NGHTTP2_SETTINGS: peer_on_settings(c, f); break;
    case NGHTTP2_WINDOW_UPDATE: peer_on_window(c, s, f); break;
    case NGHTTP2_PING:
        if (f->hd.flags & NGHTTP2_FLAG_ACK) c->ping_acks++;
        else c->pings++;
        break;
    case NGHTTP2_GOAWAY: c->client_goaway = true; break;
    default: break;
    }
    return 0;
}

static UNUSED int peer_on_sent(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
    conn_t *c = (conn_t *)user;
    stream_t *s;
    if (f->hd.type == NGHTTP2_GOAWAY && !c->goaway) {
        world_fail(c->w, "the server had to end the connection, error %u: %.*s",
                   (unsigned)f->goaway.error_code, (int)f->goaway.opaque_data_len,
                   (const char *)f->goaway.opaque_data);
    }
    if (f->hd.type != NGHTTP2_DATA) return 0;
    c->data_sent += (int64_t)f->hd.length;
    s = (stream_t *)nghttp2_session_get_stream_user_data(session, f->hd.stream_id);
    if (s) s->padded += (int64_t)f->data.padlen;
    return 0;
}

static UNUSED int peer_on_invalid(nghttp2_session *session, const nghttp2_frame *f, int code, void *user)
{
    (void)session;
    if (code == NGHTTP2_ERR_REFUSED_STREAM) return 0; /* it had not heard of the new limit */
    world_fail(((conn_t *)user)->w, "the client sent an invalid frame of type %d on stream %d: %s",
               f->hd.type, (int)f->hd.stream_id, nghttp2_strerror(code));
    return 0;
}

static UNUSED int peer_on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    stream_t *s = (stream_t *)nghttp2_session_get_stream_user_data(session, id);
    (void)code;
    (void)user;
    if (s) s->closed = true;
    return 0;
}

static UNUSED ssize_t peer_padding(nghttp2_session *session, const nghttp2_frame *f, size_t max, void *user)
{
    stream_t *s = (stream_t *)nghttp2_session_get_stream_user_data(session, f->hd.stream_id);
    size_t want = f->hd.length + (s && f->hd.type == NGHTTP2_DATA ? s->pad : 0);
    (void)user;
    return (ssize_t)(want < max ? want : max);
}

static UNUSED nghttp2_session *peer_session(conn_t *c)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *o = NULL;
    nghttp2_session *session = NULL;
    if (nghttp2_session_callbacks_new(&cb) || nghttp2_option_new(&o)) abort();
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, peer_on_begin);
    nghttp2_session_callbacks_set_on_header_callback(cb, peer_on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, peer_on_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, peer_on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, peer_on_sent);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, peer_on_invalid);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, peer_on_close);
    nghttp2_session_callbacks_set_select_padding_callback(cb, peer_padding);
    nghttp2_option_set_no_auto_window_update(o, 1);
    if (nghttp2_session_server_new2(&session, cb, c, o)) abort();
    nghttp2_option_del(o);
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, c->w->settings, c->w->setting_count);
    return session;
}

/* ------------------------------------------------------------------ playing the server */
#define PEER_FIELDS 256

static UNUSED void peer_nv(nghttp2_nv *nv, const char *name, const char *value)
{
    memset(nv, 0, sizeof *nv);
    nv->name = (uint8_t *)(uintptr_t)name;
    nv->namelen = strlen(name);
    nv->value = (uint8_t *)(uintptr_t)value;
    nv->valuelen = strlen(value);
}

/* name NUL value NUL ... to nghttp2's pairs */
static UNUSED size_t peer_pairs(const bytes_t *b, nghttp2_nv *nv)
{
    const char *p = (const char *)b->p, *end = p + b->len;
    size_t n = 0;
    while (p < end && n < PEER_FIELDS) {
        const char *value = p + strlen(p) + 1;
        peer_nv(&nv[n++], p, value);
        p = value + strlen(value) + 1;
    }
    return n;
}

static UNUSED void peer_add(bytes_t *b, const char *name, const char *value)
{
    bytes_add(b, name, strlen(name) + 1);
    bytes_add(b, value, strlen(value) + 1);
}

static UNUSED void peer_add_list(bytes_t *b, va_list list)
{
    const char *name;
    while ((name = va_arg(list, const char *)) != NULL) peer_add(b, name, va_arg(list, const char *));
}

static UNUSED ssize_t peer_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
                                uint32_t *flags, nghttp2_data_source *source, void *user)
{
    stream_t *s = (stream_t *)source->ptr;
    size_t n = s->out.len - s->out_at;
    nghttp2_nv nv[PEER_FIELDS];
    (void)user;
    if (n == 0 && !s->ending) return NGHTTP2_ERR_DEFERRED;
    if (s->frame_max && n > s->frame_max) n = s->frame_max;
    if (n > length) n = length;
    if (s->conn->w->mode == RANDOM && n > 1) n = 1 + world_below(s->conn->w, (uint32_t)n);
    if (n) memcpy(buf, s->out.p + s->out_at, n);
    s->out_at += n;
    if (s->out_at < s->out.len || !s->ending) return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!s->with_trailers) return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    nghttp2_submit_trailer(session, id, nv, peer_pairs(&s->trailers, nv));
    return (ssize_t)n;
}

static UNUSED void peer_resume(stream_t *s)
{
    if (s->conn->alive && !s->closed) nghttp2_session_resume_data(s->conn->session, s->id);
}

static UNUSED void peer_start(stream_t *s, const bytes_t *fields, bool end)
{
    nghttp2_data_provider d;
    nghttp2_nv nv[PEER_FIELDS];
    size_t n = peer_pairs(fields, nv);
    s->started = true;
    if (!s->conn->alive || s->closed) return;
    d.source.ptr = s;
    d.read_callback = peer_read;
    if (nghttp2_submit_response(s->conn->session, s->id, nv, n, end ? NULL : &d)) abort();
}

/* The first HEADERS: an HTTP status, then name, value, ..., NULL. */
static UNUSED void peer_headers(stream_t *s, const char *http_status, ...)
{
    bytes_t b = {0};
    va_list list;
    va_start(list, http_status);
    peer_add(&b, ":status", http_status);
    peer_add_list(&b, list);
    va_end(list);
    peer_start(s, &b, false);
    bytes_free(&b);
}

static UNUSED void peer_open(stream_t *s)
{
    if (!s->started) peer_headers(s, "200", "content-type", "application/grpc", NULL);
}

/* Bytes into DATA, as they are. */
static UNUSED void peer_raw(stream_t *s, const void *p, size_t n)
{
    peer_open(s);
    bytes_add(&s->out, p, n);
    peer_resume(s);
}

static UNUSED void peer_prefix(stream_t *s, int flag, size_t n)
{
    uint8_t prefix[5];
    prefix[0] = (uint8_t)flag;
    prefix[1] = (uint8_t)(n >> 24);
    prefix[2] = (uint8_t)(n >> 16);
    prefix[3] = (uint8_t)(n >> 8);
    prefix[4] = (uint8_t)n;
    if (s->size_count == s->size_cap) {
        s->size_cap = s->size_cap * 2 + 16;
        s->sizes = (size_t *)realloc(s->sizes, s->size_cap * sizeof *s->sizes);
        if (!s->sizes) abort();
    }
    s->sizes[s->size_count++] = n + 5;
    bytes_add(&s->out, prefix, 5);
}

static UNUSED void peer_message(stream_t *s, const void *p, size_t n)
{
    peer_prefix(s, 0, n);
    peer_raw(s, p, n);
}

/* Sends the message and frees it. */
static UNUSED void peer_send(stream_t *s, bytes_t *m)
{
    peer_message(s, m->p, m->len);
    bytes_free(m);
}

/* The end with trailers: grpc-status, grpc-message (NULL: none), then name, value, ..., NULL. */
static UNUSED void peer_finish(stream_t *s, int status, const char *message, ...)
{
    char number[16];
    va_list list;
    peer_open(s);
    snprintf(number, sizeof number, "%d", status);
    peer_add(&s->trailers, "grpc-status", number);
    if (message) peer_add(&s->trailers, "grpc-message", message);
    va_start(list, message);
    peer_add_list(&s->trailers, list);
    va_end(list);
    s->with_trailers = s->ending = s->done = true;
    peer_resume(s);
}

/* END_STREAM on DATA, no trailers. */
static UNUSED void peer_finish_bare(stream_t *s)
{
    peer_open(s);
    s->ending = s->done = true;
    peer_resume(s);
}

/* One HEADERS with END_STREAM: an HTTP status, then name, value, ..., NULL. */
static UNUSED void peer_only(stream_t *s, const char *http_status, ...)
{
    bytes_t b = {0};
    va_list list;
    va_start(list, http_status);
    peer_add(&b, ":status", http_status);
    peer_add_list(&b, list);
    va_end(list);
    peer_start(s, &b, true);
    s->done = true;
    bytes_free(&b);
}

static UNUSED void peer_refuse(stream_t *s, int status, const char *message)
{
    char number[16];
    snprintf(number, sizeof number, "%d", status);
    peer_only(s, "200", "content-type", "application/grpc", "grpc-status", number, "grpc-message", message,
              NULL);
}

static UNUSED void peer_reset(stream_t *s, uint32_t code)
{
    if (s->conn->alive) nghttp2_submit_rst_stream(s->conn->session, NGHTTP2_FLAG_NONE, s->id, code);
    s->done = true;
}

static UNUSED void peer_read_on(stream_t *s)
{
    s->unread = false;
    if (s->conn->alive && !s->closed) nghttp2_session_consume_stream(s->conn->session, s->id, s->owed);
    s->owed = 0;
}

static UNUSED void peer_goaway(world_t *w, int32_t last, uint32_t code, const char *debug)
{
    conn_t *c = w->conn[ENSIGN_LINK_RPC];
    assert_non_null(c);
    c->goaway = true;
    if (nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, last, code, (const uint8_t *)debug,
                              debug ? strlen(debug) : 0))
        abort();
}

/* The first step of a graceful stop: GOAWAY with the largest id. */
static UNUSED void peer_goaway_notice(world_t *w)
{
    conn_t *c = w->conn[ENSIGN_LINK_RPC];
    assert_non_null(c);
    c->goaway = true;
    if (nghttp2_submit_shutdown_notice(c->session)) abort();
}

static UNUSED void peer_setting(world_t *w, int32_t id, uint32_t value)
{
    nghttp2_settings_entry e;
    e.settings_id = id;
    e.value = value;
    if (nghttp2_submit_settings(w->conn[ENSIGN_LINK_RPC]->session, NGHTTP2_FLAG_NONE, &e, 1)) abort();
}

/* Of servers to come. */
static UNUSED void world_setting(world_t *w, int32_t id, uint32_t value)
{
    assert_true(w->setting_count < COUNT(w->settings));
    w->settings[w->setting_count].settings_id = id;
    w->settings[w->setting_count++].value = value;
}

/* Takes the next whole message of the request; false: it is not here yet. */
static UNUSED bool peer_take(stream_t *s, ensign_slice_t *message)
{
    size_t have = s->in.len - s->in_at, n;
    const uint8_t *p;
    if (have < 5) return false;
    p = s->in.p + s->in_at;
    n = ((size_t)p[1] << 24) | ((size_t)p[2] << 16) | ((size_t)p[3] << 8) | p[4];
    if (have < 5 + n) return false;
    *message = slice_of(p + 5, n);
    s->in_at += 5 + n;
    return true;
}

/* ------------------------------------------------------------------ the auth server */
static UNUSED void auth_base64url(char *out, size_t cap, const char *text)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t n = strlen(text), i, at = strlen(out);
    for (i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)(uint8_t)text[i] << 16;
        size_t k, chars = n - i >= 3 ? 4 : n - i + 1;
        if (i + 1 < n) v |= (uint32_t)(uint8_t)text[i + 1] << 8;
        if (i + 2 < n) v |= (uint8_t)text[i + 2];
        for (k = 0; k < chars && at + 1 < cap; k++) out[at++] = set[(v >> (18 - 6 * k)) & 63];
    }
    out[at] = 0;
}

/* A token without a signature: what the client reads of it are three times. */
static UNUSED void auth_token(char *out, size_t cap, unsigned serial, int64_t iat, int64_t nbf, int64_t exp)
{
    char payload[200];
    snprintf(payload, sizeof payload,
             "{\"iss\":\"x\",\"aud\":[\"y\"],\"iat\":%lld,\"nbf\":%lld,\"exp\":%lld,\"jti\":\"%u\"}",
             (long long)iat, (long long)nbf, (long long)exp, serial);
    out[0] = 0;
    auth_base64url(out, cap, "{\"alg\":\"none\",\"typ\":\"JWT\"}");
    strncat(out, ".", cap - strlen(out) - 1);
    auth_base64url(out, cap, payload);
    strncat(out, ".c2ln", cap - strlen(out) - 1);
}

static UNUSED void auth_write(world_t *w, const char *text)
{
    conn_t *c = w->conn[ENSIGN_LINK_AUTH];
    if (c) bytes_add(&c->out, text, strlen(text));
}

static UNUSED void auth_answer(world_t *w, int status, const char *body)
{
    char head[256], part[64];
    size_t n = strlen(body), at, cut;
    if (!w->auth_chunked) {
        snprintf(
            head, sizeof head,
            "HTTP/1.1 %d X\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %zu\r\n\r\n",
            status, n);
        auth_write(w, head);
        auth_write(w, body);
        return;
    }
    snprintf(head, sizeof head, "HTTP/1.1 %d X\r\nTransfer-Encoding: chunked\r\n\r\n", status);
    auth_write(w, head);
    for (at = 0; at < n; at += cut) {
        cut = 1 + world_below(w, 40);
        if (cut > n - at) cut = n - at;
        snprintf(part, sizeof part, "%zx;x=1\r\n%.*s\r\n", cut, (int)cut, body + at);
        auth_write(w, part);
    }
    auth_write(w, "0\r\nX-Trailer: 1\r\n\r\n");
}

/* A pair of new tokens, by the clock of the server. */
static UNUSED void auth_grant(world_t *w)
{
    char body[1200];
    int64_t now = w->server_wall_s + (int64_t)(w->now / 1000);
    w->access_serial++;
    auth_token(w->access, sizeof w->access, w->access_serial, now, now, now + w->access_s);
    auth_token(w->refresh, sizeof w->refresh, w->access_serial, now, now + w->access_s - w->overlap_s,
               now + w->refresh_s);
    snprintf(body, sizeof body,
             "{\"access_token\":\"%s\",\"refresh_token\":\"%s\",\"last_login\":\"2023-11-14T22:13:20Z\"}",
             w->access, w->refresh);
    auth_answer(w, 200, body);
}

static UNUSED void auth_note(world_t *w, conn_t *c, size_t head, size_t body)
{
    const char *p = (const char *)c->in.p;
    snprintf(w->auth_head, sizeof w->auth_head, "%.*s", (int)head, p);
    snprintf(w->auth_body, sizeof w->auth_body, "%.*s", (int)body, p + head);
    if (sscanf(p, "%*s %63s", w->auth_path) != 1)
        world_fail(w, "auth: a request line without a path: %.60s", p);
    bytes_drop(&c->in, head + body);
    w->auth_requests++;
}

static UNUSED bool auth_serve(world_t *w)
{
    conn_t *c = w->conn[ENSIGN_LINK_AUTH];
    const char *end, *length;
    size_t head, body = 0;
    if (!c || c->in.len < 4) return false;
    bytes_add(&c->in, "", 1);
    c->in.len--;
    end = strstr((const char *)c->in.p, "\r\n\r\n");
    if (!end) return false;
    head = (size_t)(end + 4 - (const char *)c->in.p);
    for (length = (const char *)c->in.p; length < end; length = strstr(length, "\r\n") + 2) {
        if (strncmp(length, "Content-Length:", 15) == 0 || strncmp(length, "content-length:", 15) == 0)
            body = (size_t)atoi(length + 15);
    }
    if (c->in.len < head + body) return false;
    auth_note(w, c, head, body);
    if (w->auth_manual) return true;
    if (strcmp(w->auth_path, "/v1/status") == 0) auth_answer(w, 200, "{\"status\":\"ok\"}");
    else auth_grant(w);
    return true;
}

#endif
