/* h2peer.h - the HTTP/2 server that tests play: an nghttp2 session, what came on its streams, its answers
 *
 * A conn_t is one connection and a stream_t one request of it. The callbacks of the session note what came;
 * the peer_ functions say what a stream answers, the conn_ functions what the connection does. The file that
 * includes this one includes ensign.h before it, carries the bytes, keeps the streams, and defines
 *     peer_keep    takes a new stream into its list; false: this stream is refused
 *     peer_some    how many of n bytes of an answer the next DATA frame has: 1 to n
 *     peer_die     ends the test
 * With PEER_PLAIN defined the last two are here: all of an answer at once, and the end by cmocka, or by abort
 * where cmocka.h is not included.
 * The server ends the test when the client sends what nghttp2 refuses, an empty DATA frame or ENABLE_PUSH,
 * and when it grants a stream more credit than the stream's bounds allow. */
#ifndef H2PEER_H
#define H2PEER_H

#include "bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/types.h>
#include <nghttp2/nghttp2.h>

typedef struct conn_t {
    void *owner;                    /* of the file that includes this one */
    int link;
    unsigned number;                /* 0 the first of its link */
    uint32_t attempt;
    bool alive, goaway, client_goaway;
    bool raw;                       /* no server is behind it: what comes is taken, and nobody answers */
    bool tunnel;                    /* a proxy reads it, until it has answered CONNECT */
    void *secure;                   /* TLS of it, where the server has TLS */
    bytes_t wire;                   /* what goes out in place of `out`, where there is TLS; sent up to wire_at */
    size_t wire_at;
    nghttp2_session *session;       /* NULL: lost, or not HTTP/2 */
    bytes_t in, out;                /* in: of what is not HTTP/2; out: sent up to out_at */
    size_t out_at;
    int64_t bytes_in, bytes_out;    /* as the client sees them */
    int64_t initial_window, granted, data_sent;
    unsigned pings, ping_acks, settings_acks;
    bool answered;                  /* HEADERS or DATA went out since the client's last PING */
    bool mute;                      /* a relay that takes what comes, and passes nothing on, neither way */
    bool hangs_up;                  /* with what is to be sent now */
    void (*on_ping)(struct conn_t *);
    bytes_t tail;                   /* tx that was seen and not acked */
} conn_t;

typedef struct stream_t {
    conn_t *conn;
    int32_t id;
    bytes_t fields;                 /* of the request, see field_add */
    bytes_t in;                     /* DATA of the request; read up to in_at */
    size_t in_at;
    bool headers, half_closed, reset, closed;
    uint32_t reset_code;
    bytes_t out;                    /* DATA of the answer; sent up to out_at */
    size_t out_at;
    bool started, ending, with_trailers, done;
    bool told_headers;              /* HEADERS of the answer went out: a reset overtakes what only waits */
    bytes_t trailers;
    size_t frame_max, pad;          /* of DATA frames; 0: no limit, no padding */
    bool unread;                    /* the server does not read: its window stays shut */
    size_t owed;
    /* credit: what the client granted and may have granted */
    size_t credit_max;              /* most that may be outstanding; 0: not looked at */
    int64_t granted, padded, freed;
    size_t window;                  /* the buffer of the audit; 0: no audit */
    uint32_t handle;
    size_t *sizes, size_count, size_cap, pulled, released;
    /* for hooks */
    bool told, told_half;
    void *user;
    int stage;
} stream_t;

static bool peer_keep(conn_t *c, stream_t *s);
static size_t peer_some(conn_t *c, size_t n);
static void peer_die(conn_t *c, const char *text);

#ifdef PEER_PLAIN
static size_t peer_some(conn_t *c, size_t n)
{
    (void)c;
    return n;
}

static void peer_die(conn_t *c, const char *text)
{
    (void)c;
#ifdef fail_msg
    fail_msg("%s", text);
#else
    fprintf(stderr, "%s\n", text);
    abort();
#endif
}
#endif

#define PEER_FAIL(c, ...)                                                                                    \
    do {                                                                                                     \
        char text_[400];                                                                                     \
        snprintf(text_, sizeof text_, __VA_ARGS__);                                                          \
        peer_die(c, text_);                                                                                  \
    } while (0)

/* ------------------------------------------------------------------ fields of header blocks */
#define PEER_FIELDS 256

/* A field in a byte string: two lengths, the name, NUL, the value, NUL. */
static UNUSED void field_add(bytes_t *b, ensign_slice_t name, ensign_slice_t value)
{
    size_t lens[2];
    lens[0] = name.len;
    lens[1] = value.len;
    bytes_add(b, lens, sizeof lens);
    bytes_add(b, name.ptr, name.len);
    bytes_add(b, "", 1);
    bytes_add(b, value.ptr, value.len);
    bytes_add(b, "", 1);
}

/* The field at *at, which begins at 0; false: there is no further one. */
static UNUSED bool field_next(const bytes_t *b, size_t *at, ensign_slice_t *name, ensign_slice_t *value)
{
    size_t lens[2];
    if (*at >= b->len) return false;
    memcpy(lens, b->p + *at, sizeof lens);
    *name = slice_of(b->p + *at + sizeof lens, lens[0]);
    *value = slice_of(name->ptr + lens[0] + 1, lens[1]);
    *at += sizeof lens + lens[0] + lens[1] + 2;
    return true;
}

static UNUSED void peer_add(bytes_t *b, const char *name, const char *value)
{
    field_add(b, text_slice(name), text_slice(value));
}

static UNUSED void peer_add_list(bytes_t *b, va_list list)
{
    const char *name;
    while ((name = va_arg(list, const char *)) != NULL) peer_add(b, name, va_arg(list, const char *));
}

/* The first field of the request that has this name; NULL: there is none. */
static UNUSED const char *peer_field(const stream_t *s, const char *name)
{
    ensign_slice_t key, value;
    size_t at = 0;
    while (field_next(&s->fields, &at, &key, &value)) {
        if (strcmp((const char *)key.ptr, name) == 0) return (const char *)value.ptr;
    }
    return NULL;
}

static UNUSED size_t peer_pairs(const bytes_t *b, nghttp2_nv *nv)
{
    ensign_slice_t name, value;
    size_t n, at = 0;
    for (n = 0; n < PEER_FIELDS && field_next(b, &at, &name, &value); n++) {
        memset(&nv[n], 0, sizeof nv[n]);
        nv[n].name = (uint8_t *)(uintptr_t)name.ptr;
        nv[n].namelen = name.len;
        nv[n].value = (uint8_t *)(uintptr_t)value.ptr;
        nv[n].valuelen = value.len;
    }
    return n;
}

/* ------------------------------------------------------------------ what comes */
static UNUSED stream_t *peer_stream(nghttp2_session *session, int32_t id)
{
    return id ? (stream_t *)nghttp2_session_get_stream_user_data(session, id) : NULL;
}

static UNUSED int peer_on_begin(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
    conn_t *c = (conn_t *)user;
    stream_t *s;
    if (f->hd.type != NGHTTP2_HEADERS || f->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    s = (stream_t *)calloc(1, sizeof *s);
    if (!s) abort();
    s->conn = c;
    s->id = f->hd.stream_id;
    s->granted = c->initial_window;
    if (!peer_keep(c, s)) {
        free(s);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* the stream is reset */
    }
    nghttp2_session_set_stream_user_data(session, s->id, s);
    return 0;
}

static UNUSED int peer_on_header(nghttp2_session *session, const nghttp2_frame *f, const uint8_t *name,
                                 size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                                 void *user)
{
    stream_t *s = peer_stream(session, f->hd.stream_id);
    (void)flags;
    (void)user;
    if (s && !s->headers) field_add(&s->fields, slice_of(name, name_len), slice_of(value, value_len));
    return 0;
}

static UNUSED int peer_on_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p,
                                size_t n, void *user)
{
    stream_t *s = peer_stream(session, id);
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
        PEER_FAIL(s->conn, "stream %d: %lld granted, %lld freed, %lld padding, %zu lent, a buffer of %zu",
                  (int)s->id, (long long)s->granted, (long long)s->freed, (long long)s->padded, lent, buffer);
    }
}

/* No more credit is outstanding than that. */
static UNUSED void peer_credit(const stream_t *s, size_t most)
{
    int32_t left = nghttp2_session_get_stream_remote_window_size(s->conn->session, s->id);
    if (left > (int32_t)most)
        PEER_FAIL(s->conn, "stream %d: a credit of %d, %zu is the most", (int)s->id, (int)left, most);
}

static UNUSED void peer_on_settings(conn_t *c, const nghttp2_frame *f)
{
    size_t i;
    if (f->hd.flags & NGHTTP2_FLAG_ACK) {
        c->settings_acks++;
        return;
    }
    for (i = 0; i < f->settings.niv; i++) {
        const nghttp2_settings_entry *e = &f->settings.iv[i];
        if (e->settings_id == NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE) c->initial_window = e->value;
        if (e->settings_id == NGHTTP2_SETTINGS_ENABLE_PUSH && e->value != 0)
            PEER_FAIL(c, "the client lets the server push");
    }
}

static UNUSED void peer_on_window(conn_t *c, stream_t *s, const nghttp2_frame *f)
{
    if (f->hd.stream_id == 0) c->granted += f->window_update.window_size_increment;
    if (!s) return;
    s->granted += f->window_update.window_size_increment;
    peer_audit(s);
    if (s->credit_max) peer_credit(s, s->credit_max);
}

static UNUSED int peer_on_frame(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
    conn_t *c = (conn_t *)user;
    stream_t *s = peer_stream(session, f->hd.stream_id);
    bool end = (f->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (f->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        if (!s) break;
        s->headers = true;
        if (end) s->half_closed = true;
        if (f->hd.type == NGHTTP2_DATA && f->hd.length == 0 && !end)
            PEER_FAIL(c, "the client sent an empty DATA frame");
        break;
    case NGHTTP2_RST_STREAM:
        if (s) s->reset = true, s->reset_code = f->rst_stream.error_code;
        break;
    case NGHTTP2_SETTINGS: peer_on_settings(c, f); break;
    case NGHTTP2_WINDOW_UPDATE: peer_on_window(c, s, f); break;
    case NGHTTP2_PING:
        if (f->hd.flags & NGHTTP2_FLAG_ACK) c->ping_acks++;
        else if (++c->pings && c->on_ping) c->on_ping(c);
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
        PEER_FAIL(c, "the server had to end the connection, error %u: %.*s", (unsigned)f->goaway.error_code,
                  (int)f->goaway.opaque_data_len, (const char *)f->goaway.opaque_data);
    }
    if (f->hd.type == NGHTTP2_HEADERS || f->hd.type == NGHTTP2_DATA) c->answered = true;
    s = peer_stream(session, f->hd.stream_id);
    if (s && f->hd.type == NGHTTP2_HEADERS) s->told_headers = true;
    if (f->hd.type != NGHTTP2_DATA) return 0;
    c->data_sent += (int64_t)f->hd.length;
    if (s) s->padded += (int64_t)f->data.padlen;
    return 0;
}

static UNUSED int peer_on_invalid(nghttp2_session *session, const nghttp2_frame *f, int code, void *user)
{
    (void)session;
    if (code == NGHTTP2_ERR_REFUSED_STREAM) return 0; /* it had not heard of the new limit */
    PEER_FAIL((conn_t *)user, "the client sent an invalid frame of type %d on stream %d: %s", f->hd.type,
              (int)f->hd.stream_id, nghttp2_strerror(code));
    return 0;
}

static UNUSED int peer_on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    stream_t *s = peer_stream(session, id);
    (void)code;
    (void)user;
    if (s) s->closed = true;
    return 0;
}

static UNUSED ssize_t peer_padding(nghttp2_session *session, const nghttp2_frame *f, size_t max, void *user)
{
    stream_t *s = peer_stream(session, f->hd.stream_id);
    size_t want = f->hd.length + (s && f->hd.type == NGHTTP2_DATA ? s->pad : 0);
    (void)user;
    return (ssize_t)(want < max ? want : max);
}

/* ------------------------------------------------------------------ a connection */
static UNUSED void conn_open(conn_t *c, const nghttp2_settings_entry *settings, size_t count)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *o = NULL;
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
    if (nghttp2_session_server_new2(&c->session, cb, c, o)) abort();
    nghttp2_option_del(o);
    nghttp2_session_callbacks_del(cb);
    if (nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, count)) abort();
    c->alive = true;
    c->initial_window = 65535;
}

/* The connection is lost; its streams are for the caller to close. */
static UNUSED void conn_drop(conn_t *c)
{
    c->alive = false;
    if (c->session) nghttp2_session_del(c->session);
    c->session = NULL;
}

static UNUSED void conn_free(conn_t *c)
{
    bytes_free(&c->in);
    bytes_free(&c->out);
    bytes_free(&c->wire);
    bytes_free(&c->tail);
}

/* Bytes of the client. */
static UNUSED void conn_feed(conn_t *c, const uint8_t *p, size_t n)
{
    ssize_t rc = nghttp2_session_mem_recv(c->session, p, n);
    if (rc != (ssize_t)n)
        PEER_FAIL(c, "the server cannot read what the client sent: %s", nghttp2_strerror((int)rc));
}

/* Takes bytes for the client into `out`, until `most` or more are there. How many there are. */
static UNUSED size_t conn_fill(conn_t *c, size_t most)
{
    const uint8_t *p;
    ssize_t n = 1;
    if (c->out_at == c->out.len) c->out_at = c->out.len = 0;
    while (c->session && n > 0 && c->out.len - c->out_at < most) {
        n = nghttp2_session_mem_send(c->session, &p);
        if (n < 0) PEER_FAIL(c, "the server cannot send: %s", nghttp2_strerror((int)n));
        if (n > 0) bytes_add(&c->out, p, (size_t)n);
    }
    return c->out.len - c->out_at;
}

/* GOAWAY; with the largest id it is the first step of a graceful stop. */
static UNUSED void conn_goaway(conn_t *c, int32_t last, uint32_t code, ensign_slice_t text)
{
    int rc = last == INT32_MAX
                 ? nghttp2_submit_shutdown_notice(c->session)
                 : nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, last, code, text.ptr, text.len);
    c->goaway = true;
    if (rc) PEER_FAIL(c, "GOAWAY of stream %d: %s", (int)last, nghttp2_strerror(rc));
}

/* False: HTTP/2 forbids the value, and nothing is sent. */
static UNUSED bool conn_setting(conn_t *c, int32_t id, uint32_t value)
{
    nghttp2_settings_entry e;
    e.settings_id = id;
    e.value = value;
    return nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, &e, 1) == 0;
}

/* ------------------------------------------------------------------ what a stream answers */
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
    if (n > 1) n = peer_some(s->conn, n);
    if (n) memcpy(buf, s->out.p + s->out_at, n);
    s->out_at += n;
    if (s->out_at < s->out.len || !s->ending) return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!s->with_trailers) return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    (void)nghttp2_submit_trailer(session, id, nv, peer_pairs(&s->trailers, nv));
    return (ssize_t)n;
}

static UNUSED void peer_resume(stream_t *s)
{
    if (s->conn->alive && !s->closed) (void)nghttp2_session_resume_data(s->conn->session, s->id);
}

static UNUSED void peer_start(stream_t *s, const bytes_t *fields, bool end)
{
    nghttp2_data_provider d;
    nghttp2_nv nv[PEER_FIELDS];
    size_t n = peer_pairs(fields, nv);
    s->started = true;
    if (end) s->done = true;
    if (!s->conn->alive || s->closed) return;
    d.source.ptr = s;
    d.read_callback = peer_read;
    if (nghttp2_submit_response(s->conn->session, s->id, nv, n, end ? NULL : &d)) abort();
}

/* The first HEADERS: an HTTP status, then name, value, ..., NULL. */
static UNUSED void peer_start_list(stream_t *s, bool end, const char *http_status, va_list list)
{
    bytes_t b = {0};
    peer_add(&b, ":status", http_status);
    peer_add_list(&b, list);
    peer_start(s, &b, end);
    bytes_free(&b);
}

static UNUSED void peer_headers(stream_t *s, const char *http_status, ...)
{
    va_list list;
    va_start(list, http_status);
    peer_start_list(s, false, http_status, list);
    va_end(list);
}

/* The same with END_STREAM: nothing else comes. */
static UNUSED void peer_only(stream_t *s, const char *http_status, ...)
{
    va_list list;
    va_start(list, http_status);
    peer_start_list(s, true, http_status, list);
    va_end(list);
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

/* The end: with what is in s->trailers, or END_STREAM on DATA. */
static UNUSED void peer_end(stream_t *s, bool with_trailers)
{
    peer_open(s);
    s->with_trailers = with_trailers;
    s->ending = s->done = true;
    peer_resume(s);
}

/* The end with trailers: grpc-status, grpc-message (NULL: none), then name, value, ..., NULL. */
static UNUSED void peer_finish(stream_t *s, int status, const char *message, ...)
{
    char number[16];
    va_list list;
    snprintf(number, sizeof number, "%d", status);
    peer_add(&s->trailers, "grpc-status", number);
    if (message) peer_add(&s->trailers, "grpc-message", message);
    va_start(list, message);
    peer_add_list(&s->trailers, list);
    va_end(list);
    peer_end(s, true);
}

static UNUSED void peer_finish_bare(stream_t *s)
{
    peer_end(s, false);
}

/* Trailers only; on a stream that has begun the trailers are all that is left. */
static UNUSED void peer_refuse(stream_t *s, int status, const char *message)
{
    char number[16];
    if (s->started) {
        peer_finish(s, status, message, NULL);
        return;
    }
    snprintf(number, sizeof number, "%d", status);
    peer_only(s, "200", "content-type", "application/grpc", "grpc-status", number, "grpc-message", message,
              NULL);
}

static UNUSED void peer_reset(stream_t *s, uint32_t code)
{
    s->done = true;
    if (!s->conn->alive) return;
    if (nghttp2_submit_rst_stream(s->conn->session, NGHTTP2_FLAG_NONE, s->id, code)) abort();
}

static UNUSED void peer_read_on(stream_t *s)
{
    s->unread = false;
    if (s->conn->alive && !s->closed) nghttp2_session_consume_stream(s->conn->session, s->id, s->owed);
    s->owed = 0;
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

static UNUSED void stream_free(stream_t *s)
{
    bytes_free(&s->fields);
    bytes_free(&s->in);
    bytes_free(&s->out);
    bytes_free(&s->trailers);
    free(s->sizes);
    free(s);
}

#endif
