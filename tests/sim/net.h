/* net.h - the network of a run: addresses, connections, bytes in pieces, virtual time
 *
 * What tests/seq uses carries the bytes and plays the auth service; here stand the hosts that refuse, stay
 * silent, close at once or swallow what they get, the proxy that may stand before them, and links that are
 * served by their number, whatever the client wants them for. */
#ifndef NET_H
#define NET_H

#include "tally.h"

#define WORLD_CONNS 4000
#include "../seq/service.h"
#include "../seq/secure.h"

enum { HOSTS = 3, AUTHS = 2, IDLE_ROUNDS = 4, STREAM_MOST = 1800 };

typedef enum { HOST_SERVES, HOST_REFUSES, HOST_SILENT, HOST_CLOSES, HOST_MUTE, HOST_STATES } host_t;

typedef struct net_t {
    unsigned hosts;                 /* of the service */
    host_t host[HOSTS], auth[AUTHS], proxy;
    bool proxied;                   /* every connection goes through the proxy */
    bool forbids;                   /* the proxy refuses what it is asked */
    bool no_address;                /* the look-up fails */
    bool limited[ENSIGN_MAX_LINKS]; /* MAX_CONCURRENT_STREAMS of this connection is low */
    bool unseen;                    /* there can have been streams that the server has not seen */
    uint32_t silent[ENSIGN_MAX_LINKS]; /* attempt that no host answers */
    unsigned tries;                 /* look-ups, dials, streams and questions to the auth service so far */
    unsigned idle;                  /* rounds in which a step was due at once and nothing moved */
} net_t;

static net_t net;

static const char *const net_names[HOSTS] = { "10.0.0.1", "10.0.0.2", "10.0.0.3" };
static const char *const net_auth_names[AUTHS] = { "10.0.1.1", "10.0.1.2" };
static const char net_proxy_name[] = "10.0.9.1";
static const char net_proxy_basic[] = "bWU6YS1zZWNyZXQtb2YtdGhlLXByb3h5"; /* me:a-secret-of-the-proxy */

/* The client's `alloc`: what it gives back must not tell a secret; what it gets is filled, with the same in
 * every run. */
static void *net_alloc(void *user, void *old, size_t size)
{
    world_t *w = (world_t *)user;
    uint8_t *p;
    size_t n = 0;
    if (old) memcpy(&n, (const uint8_t *)old - 16, sizeof n); /* world_alloc keeps it there */
    if (n) {
        const char *secret = w->desc.client_secret;
        if (secret && memmem(old, n, secret, strlen(secret))) sim_die("freed memory has the secret in it");
        if (w->access[0] && memmem(old, n, w->access, strlen(w->access)))
            sim_die("freed memory has the access token in it");
        if (memmem(old, n, net_proxy_basic, strlen(net_proxy_basic)))
            sim_die("freed memory has the proxy's password in it");
    }
    p = (uint8_t *)world_alloc(user, old, size);
    if (p && size > n) memset(p + n, 0xA5, size - n);
    return p;
}

static bool is_auth(int link)
{
    return link == ENSIGN_LINK_AUTH;
}

/* The state of the host at this address, or at this name, which leads to one that serves where there is one. */
static host_t net_host(int link, const char *address)
{
    const char *const *names = is_auth(link) ? net_auth_names : net_names;
    const host_t *state = is_auth(link) ? net.auth : net.host;
    unsigned i, count = is_auth(link) ? AUTHS : HOSTS;
    if (strncmp(address, "unix:", 5) == 0) address += 5;
    for (i = 0; i < count; i++) {
        if (strcmp(address, names[i]) == 0) return state[i];
    }
    if (strcmp(address, net_proxy_name) == 0 && net.proxied) return net.proxy;
    if (!strstr(address, ".test"))
        sim_die("link %d dials %s, which does not belong to the service", link, address);
    for (i = 0; i < count; i++) {
        if (state[i] == HOST_SERVES) return HOST_SERVES;
    }
    return state[0];
}

/* The proxy's answer to CONNECT. */
static const char *net_connect(world_t *w, conn_t *c, const char *head)
{
    static const char *const refusals[] = {
        "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 9\r\n\r\nwho's it?",
        "HTTP/1.1 503 Busy\r\n\r\n<html>", "220 ftp.test ready\r\n",
        "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nno!\r\n0\r\n\r\n",
    };
    char host[80];
    size_t n = strcspn(head + 8, ":");
    if (strncmp(head, "CONNECT ", 8) != 0) sim_die("the proxy is asked: %.60s", head);
    if (!strstr(head, net_proxy_basic)) sim_die("the proxy gets no password: %.200s", head);
    snprintf(host, sizeof host, "%.*s", (int)n, head + 8);
    if (net.forbids) {
        TALLY(fault, proxy_refuses);
        return refusals[world_below(w, COUNT(refusals))];
    }
    switch (net_host(c->link, host)) {
    case HOST_SERVES: return "HTTP/1.1 200 Connection established\r\nX-Via: test\r\n\r\n";
    case HOST_REFUSES:
    case HOST_CLOSES: TALLY(fault, proxy_502); return "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n";
    default: TALLY(fault, proxy_mute); return "";
    }
}

static bool net_resolve(world_t *w, int link, const ensign_link_t *l)
{
    const char *const *names = is_auth(link) ? net_auth_names : net_names;
    size_t count = is_auth(link) ? AUTHS : net.hosts;
    net.tries++;
    if (net.no_address) TALLY(fault, no_address);
    world_ok(w, ensign_resolved(w->client, link, l->attempt, names, net.no_address ? 0 : count, -2),
             "ensign_resolved");
    return true;
}

/* The first address that takes the connection gets it, as with a caller that races them. */
static bool net_dial(world_t *w, int link, const ensign_link_t *l)
{
    bool silent = false;
    size_t i;
    for (i = 0; i < l->address_count; i++) {
        host_t h = net_host(link, l->addresses[i]);
        if (w->conn_count == WORLD_CONNS) h = HOST_REFUSES; /* the list is full */
        if (h == HOST_SILENT) silent = true;
        if (h == HOST_SILENT || h == HOST_REFUSES) continue;
        tell("link %d connects to %s, address %zu of %zu", link, l->addresses[i], i + 1, l->address_count);
        if (l->port == 0) TALLY(user, unix_socket);
        if (h == HOST_MUTE) {
            TALLY(fault, accepts_and_mute);
            net.unseen = true;
        }
        world_conn(w, link, l->attempt, false)->mute = h == HOST_MUTE;
        net.limited[link] = false;
        net.tries++;
        world_ok(w, ensign_link_up(w->client, link, l->attempt, i, w->now), "ensign_link_up");
        if (h == HOST_CLOSES) {
            TALLY(fault, accepts_and_closes);
            world_cut_link(w, link, 0);
        }
        return true;
    }
    if (silent) {
        if (net.silent[link] != l->attempt) {
            TALLY(fault, dial_silent);
            net.tries++;
        }
        net.silent[link] = l->attempt;
        return false;
    }
    net.tries++;
    TALLY(fault, dial_refused);
    world_ok(w, ensign_link_down(w->client, link, l->attempt, ECONNREFUSED, w->now), "ensign_link_down");
    return true;
}

static bool net_run(world_t *w, int link)
{
    bool cut_in = w->cut_in[world_server(link)] >= 0, cut_out = w->cut_out[world_server(link)] >= 0, moved;
    conn_t *c = w->runs[link];
    if (!c) return false;
    if (c->session && nghttp2_session_get_last_proc_stream_id(c->session) > STREAM_MOST) {
        world_cut_link(w, link, 0); /* nghttp2's server ends it itself where 1,000 streams were reset */
        return true;
    }
    moved = world_bytes(w, c);
    if (cut_in && w->cut_in[world_server(link)] < 0) TALLY(fault, cut_in);
    if (cut_out && w->cut_out[world_server(link)] < 0) TALLY(fault, cut_out);
    return moved;
}

static bool net_link(world_t *w, int link)
{
    ensign_link_t l;
    memset(&l, 0, sizeof l);
    ensign_link(w->client, link, &l);
    switch (l.todo) {
    case ENSIGN_LINK_RESOLVE: return net_resolve(w, link, &l);
    case ENSIGN_LINK_DIAL: return net_dial(w, link, &l);
    case ENSIGN_LINK_RUN: return net_run(w, link);
    case ENSIGN_LINK_HANGUP: return world_hangup(w, link, l.attempt);
    default: return false;
    }
}

static bool model_serve(world_t *w);    /* model.h */
static void check_step(world_t *w);     /* checks.h */
static void user_pull_all(world_t *w);  /* user.h */

/* One exchange; false: nothing moved. */
static bool net_round(world_t *w)
{
    bool moved = false;
    int link;
    verbose_ms = w->now;
    world_ok(w, ensign_tick(w->client, w->now), "ensign_tick");
    for (link = 0; link < ENSIGN_MAX_LINKS; link++) {
        if (net_link(w, link)) moved = true;
    }
    if (model_serve(w)) moved = true;
    check_step(w);
    if (moved || ensign_timeout(w->client, w->now) != 0 || ensign_pending(w->client, 0)) net.idle = 0;
    else if (++net.idle > IDLE_ROUNDS) sim_die("a step is due at once, again and again, and changes nothing");
    return moved;
}

/* Moves until all is quiet; the clock stands. */
static void net_settle(world_t *w)
{
    unsigned rounds = 0;
    int quiet = 0;
    while (quiet < 2) {
        quiet = net_round(w) ? 0 : quiet + 1;
        if (++rounds > 200000) sim_die("it does not come to rest at %llu ms", (llu_t)w->now);
    }
}

/* Lets time go by, with all that falls due in it. attentive: the user pulls what comes. */
static void net_pass(world_t *w, uint64_t ms, bool attentive)
{
    uint64_t end = w->now + ms;
    int t;
    net_settle(w);
    while (w->now < end) {
        if (attentive) {
            user_pull_all(w);
            net_settle(w);
        }
        t = ensign_timeout(w->client, w->now);
        if (t == 0) t = 10; /* a notice waits, or a step is due that finds nothing to do */
        w->now = t > 0 && w->now + (uint64_t)t < end ? w->now + (uint64_t)t : end;
        net_settle(w);
    }
}

#endif
