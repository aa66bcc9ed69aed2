/* peer.h - a client, its servers and its clock in one process, for the tests of whole sessions
 *
 * A world_t holds one ensign_t that is driven through its functions without sockets, an HTTP/2 server
 * (nghttp2) and an auth server (HTTP/1.1) behind it, a clock in milliseconds that only the test moves,
 * and a random generator. Bytes go to and fro whole, in random pieces or one by one (WHOLE, RANDOM,
 * BYTE): every script runs in all three. The servers do nothing by themselves but what the hooks of the
 * world say; a test plays them with peer_ and auth_.
 *
 * The harness itself fails a test when the client sends what nghttp2 refuses, grants more credit than
 * its buffer has room, changes bytes of tx that were not acked, offers no room in rx, asks for steps
 * that do nothing, waits for nothing, or leaves memory behind. SEED=n in the environment replays; a
 * failure prints the seed. */
#ifndef PEER_H
#define PEER_H

#include "server.h"

/* ------------------------------------------------------------------ links */
static UNUSED int world_server(int link)
{
    return link == ENSIGN_LINK_AUTH ? ENSIGN_LINK_AUTH : ENSIGN_LINK_RPC;
}

static UNUSED conn_t *world_conn(world_t *w, int link, uint32_t attempt, bool raw)
{
    conn_t *c = (conn_t *)calloc(1, sizeof *c);
    size_t i;
    if (!c) abort();
    assert_true(w->conn_count < WORLD_CONNS);
    c->owner = w;
    c->link = link;
    c->attempt = attempt;
    c->alive = true;
    c->on_ping = w->on_ping;
    for (i = 0; i < w->conn_count; i++) c->number += world_server(w->conns[i]->link) == world_server(link);
    c->raw = raw;
    c->tunnel = w->on_connect && !raw;
    if (w->secure && !raw && !c->tunnel) w->secure->begin(c);
    if (link != ENSIGN_LINK_AUTH && !raw && !c->tunnel) conn_open(c, w->settings, w->setting_count);
    w->conns[w->conn_count++] = c;
    w->runs[link] = w->conn[world_server(link)] = c;
    return c;
}

static UNUSED void world_drop(world_t *w, int link)
{
    conn_t *c = w->runs[link];
    size_t i;
    if (!c) return;
    w->runs[link] = NULL;
    if (w->conn[world_server(link)] == c) w->conn[world_server(link)] = NULL;
    for (i = 0; i < w->stream_count; i++) {
        if (w->streams[i]->conn == c) w->streams[i]->closed = true;
    }
    if (w->secure) w->secure->end(c);
    conn_drop(c);
}

/* This link is lost now; native 0: in good order. */
static UNUSED void world_cut_link(world_t *w, int link, int native)
{
    ensign_link_t l;
    ensign_link(w->client, link, &l);
    world_drop(w, link);
    ensign_link_down(w->client, link, l.attempt, native, w->now);
}

/* The same of the newest connection to this server. */
static UNUSED void world_cut(world_t *w, int server, int native)
{
    world_cut_link(w, w->conn[server] ? w->conn[server]->link : server, native);
}

static UNUSED size_t world_chunk(world_t *w, size_t n)
{
    if (w->mode == BYTE) return 1;
    return w->mode == RANDOM ? 1 + world_below(w, (uint32_t)n) : n;
}

static UNUSED bool world_runs(world_t *w, conn_t *c)
{
    ensign_link_t l;
    if (!c->alive) return false;
    ensign_link(w->client, c->link, &l);
    return l.todo == ENSIGN_LINK_RUN && l.attempt == c->attempt;
}

static UNUSED void world_ok(world_t *w, int rc, const char *what)
{
    if (rc != ENSIGN_OK && !w->fault)
        world_fail(w, "%s gave %d: a failed link is a notice, never a result", what, rc);
}

/* Bytes come to a proxy, which answers once the head is whole. A 2xx lets the server itself have what
 * follows; a client that sends on before has broken the rule. */
static UNUSED void world_tunnel(conn_t *c, const uint8_t *p, size_t n)
{
    world_t *w = c->owner;
    const char *answer;
    bytes_add(&c->in, p, n);
    bytes_add(&c->in, "", 1);
    c->in.len--;
    answer = strstr((const char *)c->in.p, "\r\n\r\n");
    if (!answer) return;
    if (answer[4]) PEER_FAIL(c, "bytes behind CONNECT came before its answer");
    answer = w->on_connect(w, c, (const char *)c->in.p);
    c->in.len = 0;
    bytes_add(&c->out, answer, strlen(answer));
    if (strncmp(answer, "HTTP/1.", 7) != 0 || strncmp(answer + 8, " 2", 2) != 0) return;
    c->tunnel = false;
    if (w->secure) {
        bytes_add(&c->wire, c->out.p, c->out.len);
        c->out.len = 0;
        w->secure->begin(c);
    }
    if (c->link != ENSIGN_LINK_AUTH) conn_open(c, w->settings, w->setting_count);
}

/* What the server itself reads. */
static UNUSED void world_plain(conn_t *c, const uint8_t *p, size_t n)
{
    if (c->session) conn_feed(c, p, n);
    else bytes_add(&c->in, p, n);
}

static UNUSED void world_receive(conn_t *c, const uint8_t *p, size_t n)
{
    if (c->mute) return;
    if (c->tunnel) world_tunnel(c, p, n);
    else if (c->secure) ((world_t *)c->owner)->secure->take(c, p, n);
    else world_plain(c, p, n);
}

/* Makes ready what goes to the client: *at bytes of what is returned have gone. */
static UNUSED bytes_t *world_fill(conn_t *c, size_t **at)
{
    bool wired = c->secure || c->wire_at < c->wire.len;
    if (c->secure) ((world_t *)c->owner)->secure->give(c);
    else (void)conn_fill(c, 65536);
    if (c->wire_at == c->wire.len) c->wire_at = c->wire.len = 0;
    *at = wired ? &c->wire_at : &c->out_at;
    return wired ? &c->wire : &c->out;
}

/* Bytes that were shown and not acked must be shown again. */
static UNUSED void world_same_tail(conn_t *c, const uint8_t *p, size_t n)
{
    if (c->tail.len > n || (c->tail.len && memcmp(c->tail.p, p, c->tail.len) != 0)) {
        PEER_FAIL(c, "link %d: bytes of tx changed before they were acked", c->link);
    }
}

static UNUSED bool world_send_some(world_t *w, conn_t *c)
{
    size_t n = 0, take;
    int server = world_server(c->link);
    const uint8_t *p = ensign_tx_buf(w->client, c->link, &n);
    if (!p) n = 0;
    world_same_tail(c, p, n);
    if (n == 0) return false;
    take = world_chunk(w, n);
    if (w->cut_out[server] >= 0 && (int64_t)take > w->cut_out[server]) take = (size_t)w->cut_out[server];
    world_receive(c, p, take);
    c->bytes_out += (int64_t)take;
    c->tail.len = 0;
    if (w->mode != WHOLE) bytes_add(&c->tail, p + take, n - take < 64 ? n - take : 64);
    world_ok(w, ensign_tx_ack(w->client, c->link, take), "ensign_tx_ack");
    if (w->cut_out[server] < 0) return true;
    w->cut_out[server] -= (int64_t)take;
    if (w->cut_out[server] > 0) return true;
    w->cut_out[server] = -1;
    world_cut_link(w, c->link, ECONNRESET);
    return false;
}

static UNUSED bool world_recv_some(world_t *w, conn_t *c)
{
    size_t *at, cap = 0, n;
    bytes_t *out = c->mute ? NULL : world_fill(c, &at);
    int server = world_server(c->link);
    uint8_t *p;
    if (!out || out->len == *at) return false;
    n = out->len - *at;
    n = world_chunk(w, n);
    p = ensign_rx_buf(w->client, c->link, &cap);
    if (!p || cap == 0) world_fail(w, "link %d: no room in rx while it runs", c->link);
    if (n > cap) n = cap;
    if (w->cut_in[server] >= 0 && (int64_t)n > w->cut_in[server]) n = (size_t)w->cut_in[server];
    memcpy(p, out->p + *at, n);
    *at += n;
    c->bytes_in += (int64_t)n;
    world_ok(w, ensign_rx_ack(w->client, c->link, n, w->now), "ensign_rx_ack");
    if (w->cut_in[server] < 0) return true;
    w->cut_in[server] -= (int64_t)n;
    if (w->cut_in[server] > 0) return true;
    w->cut_in[server] = -1;
    world_cut_link(w, c->link, ECONNRESET);
    return false;
}

static UNUSED bool world_bytes(world_t *w, conn_t *c)
{
    int budget = w->mode == BYTE ? 256 : w->mode == RANDOM ? 3 : 16;
    int i;
    bool moved = false;
    for (i = 0; i < budget && world_runs(w, c) && world_send_some(w, c); i++) moved = true;
    for (i = 0; i < budget && world_runs(w, c) && world_recv_some(w, c); i++) moved = true;
    if (c->alive && c->session && c->goaway && c->out_at == c->out.len && c->wire_at == c->wire.len &&
        (c->hangs_up || !nghttp2_session_want_read(c->session)) && !nghttp2_session_want_write(c->session) &&
        world_runs(w, c)) {
        world_cut_link(w, c->link, 0);
        moved = true;
    }
    return moved;
}

/* A client that hangs up may still have something to say. */
static UNUSED void world_flush(world_t *w, int link)
{
    conn_t *c = w->runs[link];
    size_t n = 0;
    const uint8_t *p;
    if (!c || !c->alive) return;
    p = ensign_tx_buf(w->client, link, &n);
    if (!p || n == 0) return;
    c->goaway = true;       /* what the server makes of it is nobody's matter any more */
    world_receive(c, p, n);
    world_ok(w, ensign_tx_ack(w->client, link, n), "ensign_tx_ack");
}

/* The addresses race: of those that answer the first one decides, where none is up all have failed. */
static UNUSED bool world_dial(world_t *w, int link, const ensign_link_t *l)
{
    int server = world_server(link);
    dial_t dial = w->dial[server];
    bool silent = dial == DIAL_SILENT;
    size_t at = 0;
    for (; w->on_dial && at < l->address_count; at++) {
        dial = w->on_dial(w, server, l->addresses[at]);
        if (dial == DIAL_SILENT) silent = true;
        else if (dial != DIAL_REFUSE) break;
    }
    if (silent && (at == l->address_count || !w->on_dial)) return false;
    w->dials[server]++;
    if (dial == DIAL_REFUSE) {
        world_ok(w, ensign_link_down(w->client, link, l->attempt, ECONNREFUSED, w->now), "ensign_link_down");
        return true;
    }
    world_conn(w, link, l->attempt, dial != DIAL_ACCEPT);
    if (dial == DIAL_BABBLE) bytes_add(&w->runs[link]->out, "SSH-2.0-OpenSSH_9.2p1\r\n", 23);
    world_ok(w, ensign_link_up(w->client, link, l->attempt, at, w->now), "ensign_link_up");
    if (dial == DIAL_CLOSE) world_cut_link(w, link, 0);
    return true;
}

/* The client has ended the link. */
static UNUSED bool world_hangup(world_t *w, int link, uint32_t attempt)
{
    world_flush(w, link);
    world_drop(w, link);
    world_ok(w, ensign_link_down(w->client, link, attempt, 0, w->now), "ensign_link_down");
    return true;
}

static UNUSED bool world_link(world_t *w, int link)
{
    static const char *const addresses[] = { "127.0.0.1" };
    ensign_link_t l;
    memset(&l, 0, sizeof l);
    ensign_link(w->client, link, &l);
    switch (l.todo) {
    case ENSIGN_LINK_RESOLVE:
        w->resolves[world_server(link)]++;
        world_ok(w,
                 ensign_resolved(w->client, link, l.attempt, w->addresses ? w->addresses : addresses,
                                 w->resolve_fails ? 0 : w->addresses ? w->address_count : 1,
                                 w->resolve_fails ? -2 : 0),
                 "ensign_resolved");
        return true;
    case ENSIGN_LINK_DIAL: return world_dial(w, link, &l);
    case ENSIGN_LINK_RUN: return w->runs[link] ? world_bytes(w, w->runs[link]) : false;
    case ENSIGN_LINK_HANGUP: return world_hangup(w, link, l.attempt);
    default: return false;
    }
}

/* The hooks hear of whole messages only, and never inside of nghttp2. */
static UNUSED bool world_serve(world_t *w)
{
    bool did = auth_serve(w);
    ensign_slice_t m;
    size_t i;
    while (w->first_open < w->stream_count && w->streams[w->first_open]->closed) w->first_open++;
    for (i = w->first_open; i < w->stream_count; i++) {
        stream_t *s = w->streams[i];
        if (!s->headers || s->closed) continue;
        if (w->on_headers && !s->told) {
            s->told = did = true;
            w->on_headers(w, s);
        }
        while (w->on_message && !s->closed && peer_take(s, &m)) {
            did = true;
            w->on_message(w, s, m);
        }
        if (w->on_half && s->half_closed && !s->told_half) {
            s->told_half = did = true;
            w->on_half(w, s);
        }
    }
    return did;
}

/* One exchange; false: nothing moved. */
static UNUSED bool world_round(world_t *w)
{
    bool moved = false;
    int link;
    world_ok(w, ensign_tick(w->client, w->now), "ensign_tick");
    for (link = 0; link < w->links; link++) {
        if (world_link(w, link)) moved = true;
    }
    if (world_serve(w)) moved = true;
    return moved;
}

/* Moves until all is quiet; the clock stands. */
static UNUSED void world_settle(world_t *w)
{
    unsigned rounds = 0;
    int quiet = 0;
    while (quiet < 2) {
        quiet = world_round(w) ? 0 : quiet + 1;
        if (++rounds > 3000000) world_fail(w, "it does not come to rest");
    }
    w->zero_timeouts = 0;
}

/* Lets time go by, with all that falls due in it. */
static UNUSED void world_pass(world_t *w, uint64_t ms)
{
    uint64_t end = w->now + ms;
    int t;
    world_settle(w);
    while (w->now < end) {
        t = ensign_timeout(w->client, w->now);
        if (t == 0) t = 10;
        w->now = t > 0 && w->now + (uint64_t)t < end ? w->now + (uint64_t)t : end;
        world_settle(w);
    }
}

/* A step towards something that a test waits for: an exchange, or the clock goes to the next timer. */
static UNUSED void world_advance(world_t *w, const char *what)
{
    int t;
    if (world_round(w) || world_round(w)) {
        w->zero_timeouts = w->pulls_due = 0;
        if (++w->rounds > 20000000) world_fail(w, "no end of bytes while waiting for %s", what);
        return;
    }
    t = ensign_timeout(w->client, w->now);
    if (t < 0) world_fail(w, "stalled: nothing moves and no timer runs while waiting for %s", what);
    if (t == 0 && !ensign_pending(w->client, 0) && ++w->zero_timeouts > 3) {
        world_fail(w, "ensign_timeout is 0, but steps do nothing, while waiting for %s", what);
    }
    if (t == 0 && ++w->pulls_due < 3) return;   /* a notice came: the test pulls it before time goes on */
    w->pulls_due = 0;
    if (t == 0) t = 10;
    w->now += (uint64_t)t;
    w->waited_ms += (uint64_t)t;
    if (w->waited_ms > w->patience_ms)
        world_fail(w, "%llu ms went by in waiting for %s", (unsigned long long)w->waited_ms, what);
}

#define world_until(w, condition)                                                                            \
    do {                                                                                                     \
        (w)->waited_ms = 0;                                                                                  \
        while (!(condition)) world_advance(w, #condition);                                                   \
    } while (0)

/* ------------------------------------------------------------------ notices */
static UNUSED void world_account(world_t *w, const ensign_notice_t *n)
{
    size_t i;
    for (i = 0; i < w->stream_count; i++) {
        stream_t *s = w->streams[i];
        if (!s->window || s->handle != n->handle) continue;
        while (s->released < s->pulled) s->freed += (int64_t)s->sizes[s->released++];
        if (n->type == ENSIGN_NOTICE_MESSAGE || n->type == ENSIGN_NOTICE_EVENT) s->pulled++;
    }
}

static UNUSED void world_client_notice(world_t *w, const ensign_notice_t *n)
{
    if (n->error) w->last_error = *n->error;
    switch (n->type) {
    case ENSIGN_NOTICE_CONNECTED: w->connected++; break;
    case ENSIGN_NOTICE_DISCONNECTED:
        w->disconnected++;
        w->retry_in_ms = n->as.disconnected.retry_in_ms;
        break;
    case ENSIGN_NOTICE_GOAWAY: w->goaways++; break;
    case ENSIGN_NOTICE_FAILED: w->failed++; break;
    case ENSIGN_NOTICE_CLOSED: w->client_closed++; break;
    default: world_fail(w, "the client itself got a notice of type %d", (int)n->type);
    }
}

/* Pulls one notice, of `handle` or (0) of any, if one waits. */
static UNUSED const ensign_notice_t *world_pull_any(world_t *w, uint32_t handle)
{
    const ensign_notice_t *n = handle ? ensign_next_of(w->client, handle) : ensign_next(w->client);
    if (!n) return NULL;
    world_account(w, n);
    assert_true(n->handle != 0);
    if (handle) assert_int_equal(n->handle, handle);
    if (n->error && n->error->code == 0)
        world_fail(w, "an error without a code in a notice of type %d", (int)n->type);
    if (n->handle == ENSIGN_CLIENT) world_client_notice(w, n);
    if (n->type == ENSIGN_NOTICE_WAITING) {
        if (!n->error || n->last) world_fail(w, "a WAITING notice without a reason, or as the last one");
        ensign_stats_t stats;
        memset(&stats, 0, sizeof stats);
        assert_int_equal(ensign_stats(w->client, n->handle, &stats), ENSIGN_OK);
        /* it was open in between; of a first OPEN that was overtaken nothing is seen */
        bool seen = w->opened[n->handle % COUNT(w->opened)] || stats.reconnects > 0;
        w->opens += (unsigned)stats.reconnects;
        if (seen && w->waits > 0 && w->waits_handle == n->handle && strcmp(w->waits_for.text, n->error->text) == 0 &&
            w->waits_opens == w->opens)
            world_fail(w, "WAITING twice for one reason: %s", n->error->text);
        w->waits++;
        w->waits_handle = n->handle;
        w->waits_for = *n->error;
        w->waits_opens = w->opens;
        w->opens -= (unsigned)stats.reconnects;
    }
    if (n->type == ENSIGN_NOTICE_OPEN || n->type == ENSIGN_NOTICE_HEALTH || n->type == ENSIGN_NOTICE_NACK) {
        w->opens++;
        w->opened[n->handle % COUNT(w->opened)] = true;
    }
    return n;
}

/* The same, but WAITING is counted (w->waits, w->waits_for) and passed over. */
static UNUSED const ensign_notice_t *world_pull(world_t *w, uint32_t handle)
{
    const ensign_notice_t *n;
    do n = world_pull_any(w, handle);
    while (n && n->type == ENSIGN_NOTICE_WAITING);
    return n;
}

/* The next notice of a handle (0: of any), whatever it is; time goes on until it comes. */
static UNUSED const ensign_notice_t *world_next(world_t *w, uint32_t handle)
{
    const ensign_notice_t *n;
    w->waited_ms = 0;
    while (!(n = world_pull(w, handle))) world_advance(w, "a notice");
    return n;
}

/* The next of that type of that handle; what comes before it is passed over. */
static UNUSED const ensign_notice_t *world_await(world_t *w, uint32_t handle, ensign_notice_type_t type)
{
    const ensign_notice_t *n;
    char what[64];
    snprintf(what, sizeof what, "a notice of type %d of handle %lx", (int)type, (unsigned long)handle);
    w->waited_ms = 0;
    for (;;) {
        while (!(n = world_pull(w, handle))) world_advance(w, what);
        if (n->type == type) return n;
        if (n->last) {
            world_fail(w, "the last notice of the handle is of type %d, %d was awaited; status %d: %s",
                       (int)n->type, (int)type, n->type == ENSIGN_NOTICE_END ? n->as.end.status : -1,
                       n->error ? n->error->text : "-");
        }
    }
}

/* The next notice of that handle must be of that type. */
static UNUSED const ensign_notice_t *world_expect(world_t *w, uint32_t handle, ensign_notice_type_t type)
{
    const ensign_notice_t *n = world_next(w, handle);
    if (n->type != type) {
        world_fail(w, "a notice of type %d instead of %d; status %d: %s", (int)n->type, (int)type,
                   n->type == ENSIGN_NOTICE_END ? n->as.end.status : -1, n->error ? n->error->text : "-");
    }
    return n;
}

static UNUSED const ensign_notice_t *world_end(world_t *w, uint32_t handle, int status)
{
    const ensign_notice_t *n = world_await(w, handle, ENSIGN_NOTICE_END);
    if (n->as.end.status != status) {
        world_fail(w, "END with status %d instead of %d: %s", n->as.end.status, status,
                   n->error ? n->error->text : "-");
    }
    assert_true(n->last);
    return n;
}

/* The one notice of a unary call. */
static UNUSED const ensign_notice_t *world_reply(world_t *w, uint32_t handle, int status)
{
    const ensign_notice_t *n = world_expect(w, handle, ENSIGN_NOTICE_REPLY);
    if (n->as.reply.status != status) {
        world_fail(w, "REPLY with status %d instead of %d: %s", n->as.reply.status, status,
                   n->error ? n->error->text : "-");
    }
    assert_true(n->last);
    assert_true((n->error == NULL) == (status == ENSIGN_GRPC_OK));
    assert_true(status == ENSIGN_GRPC_OK || n->as.reply.message.len == 0);
    return n;
}

/* The handle's next notice is WAITING, with a reason that has these words. */
static UNUSED const ensign_notice_t *world_waiting(world_t *w, uint32_t handle, const char *words)
{
    const ensign_notice_t *n;
    w->waited_ms = 0;
    while (!(n = world_pull_any(w, handle))) world_advance(w, "WAITING");
    if (n->type != ENSIGN_NOTICE_WAITING || !strstr(n->error->text, words))
        world_fail(w, "a notice of type %d instead of WAITING for \"%s\": %s", (int)n->type, words,
                   n->error ? n->error->text : "-");
    return n;
}

/* All is quiet and the handle has nothing to say. */
static UNUSED void world_silent(world_t *w, uint32_t handle)
{
    const ensign_notice_t *n;
    world_settle(w);
    n = world_pull(w, handle);
    if (n) world_fail(w, "a notice of type %d where none was due", (int)n->type);
}

/* Pulls what the client says of itself, so that it is counted. */
static UNUSED void world_hear(world_t *w)
{
    while (world_pull(w, ENSIGN_CLIENT)) {}
}

/* ------------------------------------------------------------------ waiting for the client's bytes */
/* The i-th stream that ever came, with its headers. */
static UNUSED stream_t *world_stream(world_t *w, size_t i)
{
    world_until(w, w->stream_count > i && w->streams[i]->headers);
    return w->streams[i];
}

static UNUSED ensign_slice_t world_request(world_t *w, stream_t *s)
{
    ensign_slice_t m;
    memset(&m, 0, sizeof m);
    world_until(w, peer_take(s, &m));
    return m;
}

static UNUSED void world_audit(stream_t *s, uint32_t handle, size_t window)
{
    s->handle = handle;
    s->window = window;
    peer_audit(s);
}

/* ------------------------------------------------------------------ the beginning and the end */
static UNUSED uint64_t world_base_seed(void)
{
    const char *text = getenv("SEED");
    return text ? strtoull(text, NULL, 10) : 1;
}

/* Divides seeds and points of failure where each of them costs much: see check-asan in the Makefile. It is
 * odd, so that what alternates from one to the next still does. */
static UNUSED uint64_t fewer(void)
{
    const char *text = getenv("FEWER");
    return text ? strtoull(text, NULL, 10) | 1 : 1;
}

static UNUSED void world_desc(world_t *w)
{
    ensign_desc_t *d = &w->desc;
    memset(d, 0, sizeof *d);
    d->endpoint = "localhost:5356";
    d->tls.off = true;
    d->name = "me";
    d->io = ENSIGN_IO_CALLER;
    d->seed = w->seed;
    d->user = w;
    d->alloc = world_alloc;
    d->wall_ms = world_wall;
    d->wake = world_wake;
}

static UNUSED void world_begin(world_t *w, chunk_t mode, uint64_t seed)
{
    int i;
    memset(w, 0, sizeof *w);
    w->mode = mode;
    w->seed = seed;
    w->rng = seed * 77 + (uint64_t)mode;
    w->now = 1000;
    w->links = ENSIGN_MAX_LINKS;
    w->wall = 1700000000000;
    w->server_wall_s = 1700000000;
    w->access_s = 3600;
    w->overlap_s = 900;
    w->refresh_s = 7200;
    w->patience_ms = 600000;
    for (i = 0; i < ENSIGN_MAX_LINKS; i++) w->cut_in[i] = w->cut_out[i] = -1;
    world_desc(w);
}

/* Creates the client from w->desc, as the test has changed it. */
static UNUSED void world_create(world_t *w)
{
    int rc = ensign_create(&w->desc, &w->client, &w->why);
    if (rc != ENSIGN_OK) fail_msg("ensign_create gave %d: %s", rc, w->why.text);
}

/* With a key: the auth server is in the game. */
static UNUSED void world_create_with_key(world_t *w)
{
    w->desc.auth_url = "http://localhost:8088";
    w->desc.client_id = "DbIxBEtIUgNIClnFMDmvoZeMrLxUTJVa";
    w->desc.client_secret = "wAfRpXLTiWn7yo7HQzOCwxMvveqiHXoeVJghlSIK2YbMqOMCUiSVRVQOLT0ORrVS";
    world_create(w);
}

static UNUSED void world_free(world_t *w)
{
    size_t i;
    if (w->client) ensign_destroy(w->client);
    w->client = NULL;
    for (i = 0; i < ENSIGN_MAX_LINKS; i++) world_drop(w, (int)i);
    for (i = 0; i < w->stream_count; i++) stream_free(w->streams[i]);
    for (i = 0; i < w->conn_count; i++) {
        conn_free(w->conns[i]);
        free(w->conns[i]);
    }
    free(w->streams);
    w->streams = NULL;
    w->stream_count = w->stream_cap = w->first_open = w->conn_count = 0;
}

/* Destroys the client: all that it took must come back. */
static UNUSED void world_close(world_t *w)
{
    world_free(w);
    if (w->spilled) world_fail(w, "the %s was left in a block that was given back", w->spilled);
    if (w->live || w->blocks) world_fail(w, "%zu bytes in %zu blocks were not freed", w->live, w->blocks);
}

/* A script goes on with a new world. */
static UNUSED void world_again(world_t *w)
{
    chunk_t mode = w->mode;
    const char *script = w->script;
    world_close(w);
    world_begin(w, mode, world_base_seed());
    w->script = script;
}

typedef struct script_t { const char *name; void (*run)(world_t *); chunk_t mode; } script_t;

static UNUSED void script_test(void **state)
{
    const script_t *s = (const script_t *)*state;
    world_begin(&world, s->mode, world_base_seed());
    world.script = s->name;
    s->run(&world);
    world_close(&world);
    world.finished = true;
}

static UNUSED int script_after(void **state)
{
    (void)state;
    if (world.finished) return 0;
    print_message("# SEED=%llu replays it\n", (unsigned long long)world.seed);
    world.client = NULL;        /* its state is not to be trusted any more */
    world_free(&world);
    return 0;
}

/* Three tests of one script: an entry of the array that cmocka gets, made in static storage by SCRIPT. */
#define SCRIPT(f) \
    static void f(world_t *w); \
    static script_t f##_modes[MODES] = { { #f, f, WHOLE }, { #f, f, RANDOM }, { #f, f, BYTE } }; \
    static void f(world_t *w)
#define IN_MODES(f) \
    { #f " in whole chunks", script_test, NULL, script_after, &f##_modes[WHOLE] }, \
    { #f " in random chunks", script_test, NULL, script_after, &f##_modes[RANDOM] }, \
    { #f " in 1-byte chunks", script_test, NULL, script_after, &f##_modes[BYTE] }

#endif
