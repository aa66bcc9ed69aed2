/* call.c - one gRPC call: its head, its messages in both directions, its end; see h2server.h */
#include "h2conn.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX 5                /* flag, length */
#define TEXT_MAX 4800           /* bytes of grpc-message, once encoded; a plan of Explain has 1600 before */

void conn_touch(call_t *c)
{
    h2_conn_t *conn = c->conn;
    if (c->touched || !conn) return;
    c->touched = true;
    *conn->touched_end = c;
    conn->touched_end = &c->next_touched;
}

call_t *call_new(h2_conn_t *conn, int32_t id)
{
    call_t *c = x_alloc(sizeof *c);

    c->conn = conn;
    c->id = id;
    c->in_max = MESSAGE_MAX;
    c->out_max = QUEUE_MESSAGES;
    memcpy(c->peer, conn->link.peer, sizeof c->peer);
    c->next = conn->calls;
    c->back = &conn->calls;
    if (conn->calls) conn->calls->back = &c->next;
    conn->calls = c;
    conn->server->calls++;
    return c;
}

void call_free(call_t *c)
{
    free(c->method);
    free(c->path);
    free(c->content_type);
    free(c->encoding);
    free(c->timeout);
    free(c->user_agent);
    for (size_t i = 0; i < c->authorization_count; i++) free(c->authorization[i]);
    free(c->status_text);
    free(c->header_name);
    free(c->header_value);
    buf_free(&c->in);
    buf_free(&c->out);
    free(c);
}

static void keep_first(char **to, ensign_slice_t value)
{
    if (!*to) *to = slice_dup(value);
}

/* Several values of one header become one, with commas between. */
static void join(char **to, ensign_slice_t value)
{
    size_t n;

    if (!*to) {
        *to = slice_dup(value);
        return;
    }
    n = strlen(*to);
    *to = x_realloc(*to, n + value.len + 2);
    (*to)[n] = ',';
    if (value.len) memcpy(*to + n + 1, value.ptr, value.len);
    (*to)[n + 1 + value.len] = '\0';
}

void call_header(call_t *c, ensign_slice_t name, ensign_slice_t value)
{
    if (slice_is(name, ":method")) keep_first(&c->method, value);
    else if (slice_is(name, ":path")) keep_first(&c->path, value);
    else if (slice_is(name, "content-type")) keep_first(&c->content_type, value);
    else if (slice_is(name, "grpc-encoding")) keep_first(&c->encoding, value);
    else if (slice_is(name, "grpc-timeout")) keep_first(&c->timeout, value);
    else if (slice_is(name, "user-agent")) join(&c->user_agent, value);
    else if (slice_is(name, "authorization") &&
             c->authorization_count < sizeof c->authorization / sizeof c->authorization[0])
        c->authorization[c->authorization_count++] = slice_dup(value);
}

/* 1 to 8 digits and a unit; false: malformed. */
static bool read_timeout(const char *text, int64_t *ms)
{
    int64_t v = 0;
    size_t n = strspn(text, "0123456789");

    if (n < 1 || n > 8 || text[n] == '\0' || text[n + 1] != '\0') return false;
    for (size_t i = 0; i < n; i++) v = 10 * v + (text[i] - '0');
    switch (text[n]) {
    case 'H': *ms = v * 3600000; return true;
    case 'M': *ms = v * 60000; return true;
    case 'S': *ms = v * 1000; return true;
    case 'm': *ms = v; return true;
    case 'u': *ms = (v + 999) / 1000; return true;
    case 'n': *ms = (v + 999999) / 1000000; return true;
    default: return false;
    }
}

static void start_deadline(call_t *c)
{
    h2_server_t *s = c->conn->server;
    int64_t ms;

    if (!c->timeout) return;
    if (!read_timeout(c->timeout, &ms)) {
        call_end(c, GRPC_INTERNAL, "malformed grpc-timeout");
        return;
    }
    c->deadline = now_ms() + ms;
    if (s->next_deadline == 0 || c->deadline < s->next_deadline) s->next_deadline = c->deadline;
}

static void open_call(call_t *c)
{
    h2_server_t *s = c->conn->server;
    char text[200];

    c->opened = true;
    if (!c->content_type || strncmp(c->content_type, "application/grpc", 16) != 0) c->refused = 415;
    else if (!c->method || strcmp(c->method, "POST") != 0) c->refused = 405;
    if (c->refused) return;
    start_deadline(c);
    if (!c->ended && c->encoding && strcmp(c->encoding, "identity") != 0) {
        snprintf(text, sizeof text, "grpc: Decompressor is not installed for grpc-encoding \"%.100s\"",
                 c->encoding);
        call_end(c, GRPC_UNIMPLEMENTED, text);
    }
    if (!c->ended) s->handler->open(s->user, c);
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Hands over the next whole message. Returns false when none is here yet, or the call has ended. */
static bool next_message(call_t *c)
{
    h2_server_t *s = c->conn->server;
    ensign_slice_t in = buf_bytes(&c->in);
    uint32_t n;
    char text[100];

    if (in.len < PREFIX) return false;
    n = be32(in.ptr + 1);
    if (in.ptr[0] != 0) {
        call_end(c, GRPC_INTERNAL, "grpc: compressed flag set with identity or empty encoding");
        return false;
    }
    if (n > c->in_max) {
        snprintf(text, sizeof text, "grpc: received message larger than max (%u vs. %u)", (unsigned)n,
                 (unsigned)c->in_max);
        call_end(c, GRPC_RESOURCE_EXHAUSTED, text);
        return false;
    }
    if (in.len - PREFIX < n) {
        buf_room(&c->in, PREFIX + (size_t)n - in.len);      /* at once, not by doublings */
        return false;
    }
    s->handler->message(s->user, c, slice_of(in.ptr + PREFIX, n));
    buf_take(&c->in, PREFIX + (size_t)n);
    return !c->ended;
}

static bool is_stopped(const call_t *c)
{
    return c->paused || c->held;
}

/* A paused call keeps what it owes, so that its window shuts. Anything else gives back at once: a message
   that is not whole yet must never wait for credit. */
static void settle(call_t *c)
{
    if (c->ended || c->refused) buf_take(&c->in, buf_len(&c->in));
    if (c->owed == 0 || is_stopped(c) || c->closed || !c->conn->session) return;
    nghttp2_session_consume_stream(c->conn->session, c->id, c->owed);
    c->owed = 0;
}

static void read_messages(call_t *c)
{
    h2_server_t *s = c->conn->server;

    while (!c->ended && !is_stopped(c)) {
        if (call_is_full(c)) c->paused = true;
        else if (!next_message(c)) break;
    }
    if (!c->in_ended || is_stopped(c) || c->ended || c->half_closed) return;
    c->half_closed = true;
    if (buf_len(&c->in)) call_end(c, GRPC_INTERNAL, "grpc: the stream ended inside a message");
    else s->handler->half_close(s->user, c);
}

static void bury(call_t *c)
{
    h2_server_t *s = c->conn->server;

    c->told = true;
    if (c->opened && !c->refused) s->handler->closed(s->user, c);
    s->calls--;
    *c->back = c->next;
    if (c->next) c->next->back = c->back;
    if (c->conn->session) nghttp2_session_set_stream_user_data(c->conn->session, c->id, NULL);
    c->conn = NULL;
    c->next = s->graveyard;
    s->graveyard = c;
}

static bool wants_more(const call_t *c)
{
    return buf_len(&c->out) < c->refill_below && !c->ended && !c->closed;
}

static void refuse(call_t *c);

/* Also for a call that was reset or cut off: what it had sent whole is still taken. */
void call_pump(call_t *c)
{
    if (c->told) return;
    if (c->head_done && !c->opened) open_call(c);
    if (c->refused) refuse(c);
    else if (c->opened) read_messages(c);
    if (wants_more(c)) c->refill(c->conn->server->user, c);
    settle(c);
    if (c->closed) bury(c);
}

void calls_resume(h2_conn_t *conn)
{
    for (call_t *c = conn->calls; c; c = c->next) {
        bool read = c->paused && c->out_messages + c->out_held <= c->out_max / 2 &&
                    buf_len(&c->out) / QUEUE_BYTES_EACH <= c->out_max / 2;
        if (!read && !wants_more(c)) continue;
        if (read) c->paused = false;
        conn->server->more = true;
        conn_touch(c);
    }
}

/* ---- replies */

static nghttp2_nv nv(const char *name, const char *value)
{
    nghttp2_nv x;
    x.name = (uint8_t *)(uintptr_t)name;            /* nghttp2 copies both; its struct only lacks the const */
    x.value = (uint8_t *)(uintptr_t)value;
    x.namelen = strlen(name);
    x.valuelen = strlen(value);
    x.flags = NGHTTP2_NV_FLAG_NONE;
    return x;
}

/* grpc-message: all but visible ASCII and space is %XX, and so is the % itself. */
static void percent_encode(const char *text, char out[TEXT_MAX + 1])
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0;

    for (; *text && n + 3 <= TEXT_MAX; text++) {
        uint8_t b = (uint8_t)*text;
        if (b >= 0x20 && b <= 0x7e && b != '%') {
            out[n++] = (char)b;
        } else {
            out[n++] = '%';
            out[n++] = hex[b >> 4];
            out[n++] = hex[b & 15];
        }
    }
    out[n] = '\0';
}

/* The status's one or two headers. `room` holds their text until nghttp2 has copied it. */
typedef struct status_room_t { char number[16], text[TEXT_MAX + 1]; } status_room_t;

static size_t status_headers(const call_t *c, status_room_t *room, nghttp2_nv *out)
{
    snprintf(room->number, sizeof room->number, "%d", c->status);
    out[0] = nv("grpc-status", room->number);
    if (!c->status_text || !*c->status_text) return 1;
    percent_encode(c->status_text, room->text);
    out[1] = nv("grpc-message", room->text);
    return 2;
}

static void drain(call_t *c, size_t n)
{
    if (c->refused) buf_take(&c->out, n);       /* one text, no messages */
    while (n && !c->refused) {
        size_t step;
        if (c->out_left == 0) c->out_left = PREFIX + (size_t)be32(c->out.ptr + c->out.start + 1);
        step = n < c->out_left ? n : c->out_left;
        buf_take(&c->out, step);
        c->out_left -= step;
        n -= step;
        if (c->out_left == 0) c->out_messages--;
    }
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *to, size_t cap, uint32_t *flags,
                       nghttp2_data_source *source, void *user)
{
    call_t *c = source->ptr;
    size_t n = buf_len(&c->out) < cap ? buf_len(&c->out) : cap;
    status_room_t room;
    nghttp2_nv trailers[2];
    (void)user;

    if (n == 0 && !c->ended) {
        c->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (n) memcpy(to, c->out.ptr + c->out.start, n);
    drain(c, n);
    if (c->refused && buf_len(&c->out) == 0) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    } else if (c->ended && buf_len(&c->out) == 0) {
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(session, id, trailers, status_headers(c, &room, trailers)) != 0)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return (ssize_t)n;
}

/* Something new stands in the queue, or the end does. */
static void respond(call_t *c)
{
    nghttp2_nv head[3] = { nv(":status", "200"), nv("content-type", "application/grpc") };
    nghttp2_data_provider body;

    if (!c->responded) {
        c->responded = true;
        if (c->header_name) head[2] = nv(c->header_name, c->header_value);
        body.source.ptr = c;
        body.read_callback = on_read;
        nghttp2_submit_response(c->conn->session, c->id, head, c->header_name ? 3 : 2, &body);
    } else if (c->deferred) {
        c->deferred = false;
        nghttp2_session_resume_data(c->conn->session, c->id);
    }
}

static bool is_over(const call_t *c)
{
    return c->ended || c->closed || !c->conn || !c->conn->session;
}

uint8_t *call_room(call_t *c, size_t frame_len)
{
    return is_over(c) ? NULL : buf_room(&c->out, frame_len);
}

void call_sent(call_t *c, size_t frame_len)
{
    c->out.end += frame_len;
    c->out_messages++;
    respond(c);
}

void call_send_framed(call_t *c, ensign_slice_t frame)
{
    uint8_t *p = call_room(c, frame.len);
    if (!p) return;
    memcpy(p, frame.ptr, frame.len);
    call_sent(c, frame.len);
}

uint8_t *call_message_room(call_t *c, size_t message_len)
{
    uint8_t *p = call_room(c, PREFIX + message_len);
    if (!p) return NULL;
    p[0] = 0;
    for (unsigned i = 0; i < 4; i++) p[1 + i] = (uint8_t)(message_len >> (24 - 8 * i) & 0xff);
    return p + PREFIX;
}

void call_message_sent(call_t *c, size_t message_len)
{
    call_sent(c, PREFIX + message_len);
}

void call_send(call_t *c, ensign_slice_t message)
{
    uint8_t *p = call_message_room(c, message.len);
    if (!p) return;
    if (message.len) memcpy(p, message.ptr, message.len);
    call_message_sent(c, message.len);
}

void call_set_header(call_t *c, const char *name, const char *value)
{
    if (c->responded || c->header_name) return;
    c->header_name = x_strdup(name);
    c->header_value = x_strdup(value);
}

void call_hold(call_t *c)
{
    c->held = true;
}

void call_resume(call_t *c)
{
    if (!c->held) return;
    c->held = false;
    conn_touch(c);
}

bool call_is_full(const call_t *c)
{
    return c->out_messages + c->out_held >= c->out_max || buf_len(&c->out) / QUEUE_BYTES_EACH >= c->out_max;
}

bool call_counts(call_t *c)
{
    h2_conn_t *conn = c->conn;

    if (!conn || !conn->doomed || conn->server->cut_events == 0) return true;
    if (conn->cut_due) return false;
    conn->cut_due = ++conn->events == conn->server->cut_events;
    return true;
}

void call_end(call_t *c, int status, const char *text)
{
    nghttp2_nv head[4] = { nv(":status", "200"), nv("content-type", "application/grpc") };
    status_room_t room;
    bool gone = is_over(c);

    if (c->ended) return;
    c->ended = true;            /* even if nobody is there to hear it: no message is read after this */
    if (gone) return;
    c->status = status;
    c->status_text = x_strdup(text ? text : "");
    log_line("%s: %s: status %d%s%s", c->peer, c->path ? c->path : "(no path)", status,
             *c->status_text ? ": " : "", c->status_text);
    if (c->responded) {
        respond(c);
        return;
    }
    c->responded = true;        /* trailers alone: one HEADERS with both sets */
    nghttp2_submit_response(c->conn->session, c->id, head, 2 + status_headers(c, &room, head + 2), NULL);
}

/* What is no gRPC is answered as HTTP, and only once it is whole: its later frames may still be at fault. */
static void refuse(call_t *c)
{
    static const char words[] = "This is a gRPC server: POST, with a content-type of application/grpc.\n";
    char number[16];
    nghttp2_nv head[2];
    nghttp2_data_provider body;

    if (!c->in_ended || is_over(c)) return;
    c->ended = c->responded = true;
    snprintf(number, sizeof number, "%d", c->refused);
    head[0] = nv(":status", number);
    head[1] = nv("content-type", "text/plain; charset=utf-8");
    buf_put(&c->out, words, sizeof words - 1);
    body.source.ptr = c;
    body.read_callback = on_read;
    nghttp2_submit_response(c->conn->session, c->id, head, 2, &body);
}
