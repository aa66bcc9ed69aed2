/* server.h - the world of a test: its client, its clock, and the servers that the client meets
 *
 * Each block that the client gives back is searched for its secrets; world_close fails where one is found.
 * The HTTP/2 server is that of ../h2peer.h; the auth server takes one HTTP/1.1 request at a time. How
 * bytes travel between them and the client is in peer.h. */
#ifndef SERVER_H
#define SERVER_H

#include "proto.h"
#include "../h2peer.h"

/* ------------------------------------------------------------------ the world */
typedef enum { WHOLE, RANDOM, BYTE, MODES } chunk_t;
typedef enum {
    DIAL_ACCEPT, DIAL_REFUSE,
    DIAL_SILENT,                    /* no answer to a SYN */
    DIAL_CLOSE,                     /* accepted, and closed at once */
    DIAL_MUTE,                      /* accepted, and nothing is ever said */
    DIAL_BABBLE,                    /* accepted, and another protocol is spoken */
    DIALS
} dial_t;

typedef struct world_t world_t;

#ifndef WORLD_CONNS
#define WORLD_CONNS 400             /* the most in one test */
#endif

typedef struct world_secure_t {
    void (*begin)(conn_t *);
    void (*take)(conn_t *, const uint8_t *p, size_t n); /* bytes of the client */
    void (*give)(conn_t *);         /* makes `wire` of `out` */
    void (*end)(conn_t *);
} world_secure_t;

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
    dial_t dial[ENSIGN_MAX_LINKS];  /* this and the next by server: both links to the gRPC server are RPC's */
    const char *const *addresses;   /* that each name has; NULL: 127.0.0.1 */
    size_t address_count;
    dial_t (*on_dial)(world_t *, int server, const char *address); /* NULL: `dial` */
    const char *(*on_connect)(world_t *, conn_t *, const char *head); /* a proxy's answer; NULL: no proxy */
    const struct world_secure_t *secure; /* TLS before the servers, see secure.h; NULL: plaintext */
    const char *proxy_basic;        /* what it is given in Proxy-Authorization */
    bool resolve_fails;
    unsigned dials[ENSIGN_MAX_LINKS], resolves[ENSIGN_MAX_LINKS];
    int64_t cut_in[ENSIGN_MAX_LINKS],
        cut_out[ENSIGN_MAX_LINKS]; /* bytes left until the link is lost; -1: never */
    nghttp2_settings_entry settings[4];
    size_t setting_count;
    conn_t *conn[ENSIGN_MAX_LINKS]; /* the newest that runs to this server, RPC or AUTH, or NULL */
    conn_t *runs[ENSIGN_MAX_LINKS]; /* the one of this link, or NULL */
    conn_t *conns[WORLD_CONNS];
    size_t conn_count;
    stream_t **streams;
    size_t stream_count, stream_cap, first_open;   /* first_open: all streams before it are closed */
    void (*on_headers)(world_t *, stream_t *);
    void (*on_message)(world_t *, stream_t *, ensign_slice_t);
    void (*on_half)(world_t *, stream_t *);
    void (*on_ping)(conn_t *);
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
    unsigned connected, disconnected, goaways, failed, client_closed, wakes;
    ensign_error_t last_error;
    uint32_t retry_in_ms;
    bool opened[4096];              /* by handle: OPEN or its like was given */
    unsigned waits, opens, waits_opens; /* WAITING; OPEN, HEALTH, NACK of handles; opens at the last WAITING */
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
    const char *spilled;            /* the secret that was left in a block that was given back; NULL: none */
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
static UNUSED bool world_has(const uint8_t *p, size_t n, const void *what, size_t len)
{
    const uint8_t *end = p + n, *at;
    for (; (size_t)(end - p) >= len && (at = (const uint8_t *)memchr(p, *(const uint8_t *)what,
                                                                     (size_t)(end - p) - len + 1)) != NULL;
         p = at + 1)
        if (memcmp(at, what, len) == 0) return true;
    return false;
}

/* The end of an authorization header as it goes out: HPACK makes Huffman codes of a token. */
static UNUSED size_t world_coded(const char *token, uint8_t out[24])
{
    nghttp2_hd_deflater *d;
    uint8_t block[2048];
    char value[1100];
    nghttp2_nv nv;
    ssize_t n;
    int len = snprintf(value, sizeof value, "Bearer %s", token);
    memset(&nv, 0, sizeof nv);
    nv.name = (uint8_t *)(uintptr_t)"authorization";
    nv.namelen = 13;
    nv.value = (uint8_t *)value;
    nv.valuelen = (size_t)len;
    nv.flags = NGHTTP2_NV_FLAG_NO_INDEX;
    if (nghttp2_hd_deflate_new(&d, 0) != 0) abort();
    n = nghttp2_hd_deflate_hd(d, block, sizeof block, &nv, 1);
    nghttp2_hd_deflate_del(d);
    if (n < 24) abort();
    memcpy(out, block + n - 24, 24);
    return 24;
}

/* A block is about to be given back. Words that are too short to be anybody's secret are not looked for. */
static UNUSED void world_search(world_t *w, const uint8_t *p, size_t n)
{
    const char *const names[] = { "client_secret", "token", "access token", "refresh token",
                                  "proxy's credentials" };
    const char *secrets[COUNT(names)];
    uint8_t coded[24];
    secrets[0] = w->desc.client_secret;
    secrets[1] = w->desc.token;
    secrets[2] = w->access;
    secrets[3] = w->refresh;
    secrets[4] = w->proxy_basic;
    for (size_t i = 0; i < COUNT(names); i++) {
        size_t len = secrets[i] ? strlen(secrets[i]) : 0;
        if (len < 24) continue;
        if (world_has(p, n, secrets[i], len)) w->spilled = names[i];
        if (n > 24 && (i == 1 || i == 2) && world_has(p, n, coded, world_coded(secrets[i], coded)))
            w->spilled = names[i];
    }
}

static UNUSED void *world_alloc(void *user, void *old, size_t size)
{
    world_t *w = (world_t *)user;
    uint8_t *p = old ? (uint8_t *)old - 16 : NULL;
    size_t was = 0;
    if (p) memcpy(&was, p, sizeof was);
    w->calls++;
    if (p) world_search(w, p + 16, was);
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
    if (size > was) memset(p + 16 + was, 0xA5, size - was); /* what the servers of the test have left there */
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
static bool peer_keep(conn_t *c, stream_t *s)
{
    world_t *w = (world_t *)c->owner;
    if (w->stream_count == w->stream_cap) {
        w->stream_cap = w->stream_cap * 2 + 16;
        w->streams = (stream_t **)realloc(w->streams, w->stream_cap * sizeof *w->streams);
        if (!w->streams) abort();
    }
    w->streams[w->stream_count++] = s;
    return true;
}

static size_t peer_some(conn_t *c, size_t n)
{
    world_t *w = (world_t *)c->owner;
    return w->mode == RANDOM ? 1 + world_below(w, (uint32_t)n) : n;
}

static void peer_die(conn_t *c, const char *text)
{
    world_die((world_t *)c->owner, text);
}

/* On the newest connection. */
static UNUSED void peer_goaway(world_t *w, int32_t last, uint32_t code, const char *debug)
{
    assert_non_null(w->conn[ENSIGN_LINK_RPC]);
    conn_goaway(w->conn[ENSIGN_LINK_RPC], last, code, text_slice(debug ? debug : ""));
}

/* On the connection of this stream, which is the last one that is served. */
static UNUSED void peer_goaway_behind(stream_t *s)
{
    conn_goaway(s->conn, s->id, NGHTTP2_NO_ERROR, text_slice(""));
}

static UNUSED void peer_goaway_notice(world_t *w)
{
    peer_goaway(w, INT32_MAX, NGHTTP2_NO_ERROR, NULL);
}

static UNUSED void peer_setting(world_t *w, int32_t id, uint32_t value)
{
    assert_true(conn_setting(w->conn[ENSIGN_LINK_RPC], id, value));
}

/* Of servers to come. */
static UNUSED void world_setting(world_t *w, int32_t id, uint32_t value)
{
    assert_true(w->setting_count < COUNT(w->settings));
    w->settings[w->setting_count].settings_id = id;
    w->settings[w->setting_count++].value = value;
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
    if (!c || c->raw || c->tunnel || c->in.len < 4) return false;
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
