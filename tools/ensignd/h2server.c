/* h2server.c - see h2server.h: connections and the nghttp2 session; the calls' own code is in call.c */
#include "h2server.h"
#include "h2conn.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES 262144
#define READS_PER_TURN 4
#define STREAM_WINDOW (1 << 20)
#define CONNECTION_WINDOW (16 << 20)
#define MAX_STREAMS 1000
#define FINAL_GOAWAY_AFTER_MS 500       /* if the PING that asks for it is not answered */

/* What grpc-go grants a client without being asked for more. */
#define PING_EVERY_MS 300000            /* with a call open */
#define PING_IDLE_EVERY_MS 7200000      /* with none */
#define PING_STRIKES_MAX 2u

static h2_conn_t *conn_of(void *user)
{
    return user;
}

static call_t *stream_call(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    h2_conn_t *conn = conn_of(user);
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        nghttp2_session_set_stream_user_data(session, frame->hd.stream_id,
                                             call_new(conn, frame->hd.stream_id));
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    call_t *c = stream_call(session, frame->hd.stream_id);
    (void)flags;
    (void)user;
    if (c && !c->head_done) call_header(c, slice_of(name, name_len), slice_of(value, value_len));
    return 0;
}

/* The rules of grpc-go: a PING that comes too soon is a strike, sending anything wipes them out. */
static void judge_ping(h2_conn_t *conn)
{
    static const char reason[] = "too_many_pings";
    int64_t now = now_ms(), last = conn->last_ping, least = conn->calls ? PING_EVERY_MS : PING_IDLE_EVERY_MS;

    conn->last_ping = now;
    if (conn->sent_since_ping) conn->ping_strikes = 0;
    else if (last && now - last < least) conn->ping_strikes++;
    conn->sent_since_ping = false;
    if (conn->ping_strikes <= PING_STRIKES_MAX) return;
    log_line("%s: http2: %s", conn->link.peer, reason);
    nghttp2_submit_goaway(conn->session, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(conn->session), NGHTTP2_ENHANCE_YOUR_CALM,
                          (const uint8_t *)reason, sizeof reason - 1);
    conn->broken = true;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    h2_conn_t *conn = conn_of(user);
    call_t *c;

    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK)) conn->pinged = true;
    else if (frame->hd.type == NGHTTP2_PING && conn->server->strict) judge_ping(conn);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    c = stream_call(session, frame->hd.stream_id);
    if (!c) return 0;
    if (frame->hd.type == NGHTTP2_HEADERS) c->head_done = true;
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) c->in_ended = true;
    conn_touch(c);
    return 0;
}

/* The connection's window is given back at once: a slow call holds up nobody but itself. */
static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *user)
{
    call_t *c = stream_call(session, id);
    (void)flags;
    (void)user;
    nghttp2_session_consume_connection(session, n);
    if (!c || c->ended) {
        nghttp2_session_consume_stream(session, id, n);
        return 0;
    }
    buf_put(&c->in, p, n);
    c->owed += n;
    conn_touch(c);
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    h2_conn_t *conn = conn_of(user);
    call_t *c;

    if (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) conn->sent_since_ping = true;
    if (frame->hd.type != NGHTTP2_HEADERS || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
    c = stream_call(session, frame->hd.stream_id);
    /* We are done and the client is not: it has to be told that nobody listens any more. */
    if (c && !c->in_ended) {
        c->reset_due = true;
        conn->resets_due = true;
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    call_t *c = stream_call(session, id);
    (void)code;
    (void)user;
    if (!c) return 0;
    c->closed = true;
    conn_touch(c);
    return 0;
}

static nghttp2_session *make_session(h2_conn_t *conn)
{
    nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, MAX_STREAMS },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW },
    };
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    nghttp2_session *session = NULL;

    if (nghttp2_session_callbacks_new(&callbacks) != 0) return NULL;
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    if (nghttp2_option_new(&option) == 0) {
        nghttp2_option_set_no_auto_window_update(option, 1);
        if (nghttp2_session_server_new2(&session, callbacks, conn, option) != 0) session = NULL;
        nghttp2_option_del(option);
    }
    nghttp2_session_callbacks_del(callbacks);
    if (session) {
        nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof settings[0]);
        nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW);
    }
    return session;
}

static void conn_pump(h2_conn_t *conn)
{
    while (conn->touched) {
        call_t *c = conn->touched;
        conn->touched = c->next_touched;
        if (!conn->touched) conn->touched_end = &conn->touched;
        c->next_touched = NULL;
        c->touched = false;
        call_pump(c);
    }
}

/* Into the list of old ones: the watch must outlive the turn, and calls may still point here. */
static void conn_drop(h2_conn_t *conn)
{
    if (conn->dropped) return;
    conn->dropped = true;
    log_line("%s: connection closed", conn->link.peer);
    for (call_t *c = conn->calls; c; c = c->next) {
        c->closed = true;
        conn_touch(c);
    }
    conn_pump(conn);
    nghttp2_session_del(conn->session);
    conn->session = NULL;
    loop_remove(&conn->watch);
    link_close(&conn->link);
    *conn->back = conn->next;
    if (conn->next) conn->next->back = conn->back;
    conn->next = conn->server->old_conns;
    conn->server->old_conns = conn;
}

static void conn_read(h2_conn_t *conn)
{
    for (int i = 0; i < READS_PER_TURN && !conn->link.lost; i++) {
        int n = link_read(&conn->link, conn->server->scratch, READ_BYTES);
        ssize_t used;
        if (n <= 0) return;
        used = nghttp2_session_mem_recv(conn->session, conn->server->scratch, (size_t)n);
        if (used != n) {
            log_line("%s: http2: %s", conn->link.peer,
                     used < 0 ? nghttp2_strerror((int)used) : "input refused");
            conn->broken = true;
        }
        conn_pump(conn);
        if (conn->broken) return;
    }
    conn->unread = true;    /* poll knows nothing of what mbedTLS has taken out of the socket already */
}

static void on_ready(void *owner, short got)
{
    h2_conn_t *conn = owner;
    (void)got;
    conn->unread = false;
    if (!conn->broken) conn_read(conn);
}

static void send_resets(h2_conn_t *conn)
{
    conn->resets_due = false;
    for (call_t *c = conn->calls; c; c = c->next) {
        if (!c->reset_due || c->closed) continue;
        c->reset_due = false;
        nghttp2_submit_rst_stream(conn->session, NGHTTP2_FLAG_NONE, c->id, NGHTTP2_NO_ERROR);
    }
}

static void conn_send(h2_conn_t *conn)
{
    while (link_room(&conn->link) > 0) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(conn->session, &p);
        if (n > 0) link_write(&conn->link, p, (size_t)n);
        else if (n == 0 && conn->resets_due) send_resets(conn);
        else {
            if (n < 0) conn->broken = true;
            break;
        }
        if (buf_len(&conn->link.tx) >= LINK_BACKLOG) link_flush(&conn->link);
    }
    link_flush(&conn->link);
}

static void conn_flush(h2_conn_t *conn, int64_t now)
{
    if (conn->goaway_due && (conn->pinged || now >= conn->goaway_due)) {
        conn->goaway_due = 0;
        nghttp2_submit_goaway(conn->session, NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(conn->session), NGHTTP2_NO_ERROR, NULL,
                              0);
    }
    conn_send(conn);
    calls_resume(conn);
    conn_pump(conn);
    if (conn->unread) conn->server->more = true;
    if (conn->cut_due && !conn->link.lost && !link_wants_write(&conn->link)) link_cut(&conn->link);
    conn->watch.want = (short)(POLLIN | (link_wants_write(&conn->link) ? POLLOUT : 0));
    if (conn->link.lost || (!link_wants_write(&conn->link) && conn->link.up &&
                            (conn->broken || (!nghttp2_session_want_read(conn->session) &&
                                              !nghttp2_session_want_write(conn->session)))))
        conn_drop(conn);
}

static void on_accept(void *owner, short got)
{
    h2_server_t *s = owner;
    int fd;
    (void)got;

    while ((fd = accept_from(s->listener.fd)) >= 0) {
        h2_conn_t *conn = x_alloc(sizeof *conn);
        if (!link_open(&conn->link, fd, s->tls) || !(conn->session = make_session(conn))) {
            link_close(&conn->link);
            free(conn);
            continue;
        }
        conn->server = s;
        conn->doomed = s->accepted++ < s->cut_first || s->cut_first == 0;
        if (conn->doomed) conn->link.cut_left = s->cut_bytes;
        conn->touched_end = &conn->touched;
        conn->next = s->conns;
        conn->back = &s->conns;
        if (s->conns) s->conns->back = &conn->next;
        s->conns = conn;
        loop_add(s->loop, &conn->watch, fd, POLLIN, on_ready, conn);
        log_line("%s: connection opened", conn->link.peer);
    }
}

void h2_open(h2_server_t *s, loop_t *l, int listen_fd, tls_server_t *tls, const call_handler_t *h, void *user)
{
    memset(s, 0, sizeof *s);
    s->loop = l;
    s->tls = tls;
    s->handler = h;
    s->user = user;
    s->scratch = x_alloc(READ_BYTES);
    loop_add(l, &s->listener, listen_fd, POLLIN, on_accept, s);
}

void h2_each_call(h2_server_t *s, void (*each)(void *user, call_t *c), void *user)
{
    for (h2_conn_t *conn = s->conns; conn; conn = conn->next)
        for (call_t *c = conn->calls; c; c = c->next)
            if (c->opened && !c->ended && !c->closed) each(user, c);
}

static void check_deadlines(h2_server_t *s, int64_t now)
{
    if (s->next_deadline == 0 || now < s->next_deadline) return;
    s->next_deadline = 0;
    for (h2_conn_t *conn = s->conns; conn; conn = conn->next) {
        for (call_t *c = conn->calls; c; c = c->next) {
            if (c->deadline == 0 || c->ended || c->closed || !c->opened) continue;
            if (now >= c->deadline) s->handler->deadline(s->user, c);
            else if (s->next_deadline == 0 || c->deadline < s->next_deadline) s->next_deadline = c->deadline;
        }
    }
}

void h2_tick(h2_server_t *s, int64_t now)
{
    for (h2_conn_t *conn = s->conns; conn; conn = conn->next)
        if (conn->unread) on_ready(conn, 0);
    check_deadlines(s, now);
}

void h2_flush(h2_server_t *s)
{
    int64_t now = s->stopping ? now_ms() : 0;
    h2_conn_t *next;

    s->more = false;
    for (h2_conn_t *conn = s->conns; conn; conn = next) {
        next = conn->next;
        conn_flush(conn, now);
    }
}

void h2_reap(h2_server_t *s)
{
    while (s->graveyard) {
        call_t *c = s->graveyard;
        s->graveyard = c->next;
        call_free(c);
    }
    if (s->old_conns) loop_sweep(s->loop);
    while (s->old_conns) {
        h2_conn_t *conn = s->old_conns;
        s->old_conns = conn->next;
        free(conn);
    }
}

void h2_stop(h2_server_t *s)
{
    if (s->stopping) return;
    s->stopping = true;
    loop_remove(&s->listener);
    close(s->listener.fd);
    for (h2_conn_t *conn = s->conns; conn; conn = conn->next) {
        nghttp2_submit_shutdown_notice(conn->session);
        nghttp2_submit_ping(conn->session, NGHTTP2_FLAG_NONE, NULL);
        conn->pinged = false;
        conn->goaway_due = now_ms() + FINAL_GOAWAY_AFTER_MS;
    }
}

bool h2_sent_all(const h2_server_t *s)
{
    for (const h2_conn_t *conn = s->conns; conn; conn = conn->next)
        if (link_wants_write(&conn->link) || nghttp2_session_want_write(conn->session)) return false;
    return true;
}

void h2_close(h2_server_t *s)
{
    if (!s->loop) return;
    h2_stop(s);
    while (s->conns) conn_drop(s->conns);
    h2_reap(s);
    free(s->scratch);
    memset(s, 0, sizeof *s);
}
