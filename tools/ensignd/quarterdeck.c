/* quarterdeck.c - see quarterdeck.h */
#include "quarterdeck.h"
#include "service.h"
#include <jansson.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BODY_MAX 65536
#define IDLE_S 30u

/* A bucket of requests, as the real one has it for each address: on one machine there is one address. */
#define RATE_BURST 30
#define RATE_PER_S 10

static const char type_json[] = "application/json; charset=utf-8";      /* go-ensign insists on just this */
static const char type_text[] = "text/plain; charset=utf-8";
static const char refresh_refused[] = "Logged out of your account - please log back in!";

struct quarterdeck_t {
    loop_t            *loop;
    watch_t            epoll;
    struct MHD_Daemon *daemon;
    relays_t          *relays;      /* NULL: libmicrohttpd accepts by itself */
    auth_t            *auth;
    keyring_t         *keys;
    quarterdeck_rules_t rules;
    int64_t            started, filled;         /* monotonic ms */
    int64_t            bucket;                  /* thousandths of requests that may still come */
    bool               stopping;
};

typedef struct request_t { buf_t body; bool too_large; } request_t;

typedef struct answer_t {
    unsigned    status;
    const char *type;
    char       *body;               /* malloc'ed */
    char       *location;
    int         remaining;          /* of the rate's bucket; -1: not told */
} answer_t;

typedef struct route_t {
    const char *method, *path;
    void (*answer)(quarterdeck_t *q, request_t *r, answer_t *a);
} route_t;

static void answer_json(answer_t *a, unsigned status, json_t *o)
{
    a->status = status;
    a->type = type_json;
    a->body = json_dumps(o, JSON_COMPACT);
    json_decref(o);
}

static void answer_error(answer_t *a, unsigned status, const char *text)
{
    answer_json(a, status, json_pack("{s:b, s:s}", "success", 0, "error", text));
}

static json_t *parse_body(const request_t *r)
{
    json_t *o = r->too_large ? NULL : json_loadb((const char *)r->body.ptr, buf_len(&r->body), 0, NULL);
    if (o && !json_is_object(o)) {
        json_decref(o);
        o = NULL;
    }
    return o;
}

/* A member that should be text: NULL is absent, *bad if it is something else. */
static const char *text_member(json_t *o, const char *name, bool *bad)
{
    json_t *v = json_object_get(o, name);
    if (v && !json_is_string(v) && !json_is_null(v)) *bad = true;
    return json_string_value(v);
}

static void rfc3339(char *out, size_t cap, int64_t seconds, int32_t nanos)
{
    time_t t = (time_t)seconds;
    struct tm utc;
    size_t n;

    gmtime_r(&t, &utc);
    n = strftime(out, cap, "%Y-%m-%dT%H:%M:%S", &utc);
    if (nanos) snprintf(out + n, cap - n, ".%09dZ", (int)nanos);
    else snprintf(out + n, cap - n, "Z");
}

static void answer_tokens(quarterdeck_t *q, answer_t *a, const api_key_t *k, int64_t login_s,
                          int32_t login_ns)
{
    char when[64];
    tokens_t t;
    json_t *o;

    if (!auth_issue(q->auth, k, &t)) {
        answer_error(a, 500, "could not create credentials");
        return;
    }
    o = json_pack("{s:s, s:s}", "access_token", t.access, "refresh_token", t.refresh);
    if (login_s) {
        rfc3339(when, sizeof when, login_s, login_ns);
        json_object_set_new(o, "last_login", json_string(when));
    }
    answer_json(a, 200, o);
    tokens_free(&t);
}

static bool refused_on_purpose(quarterdeck_t *q)
{
    if (q->rules.refuse == 0) return false;
    if (q->rules.refuse > 0) q->rules.refuse--;
    log_line("auth: refused on purpose");
    return true;
}

static void authenticate(quarterdeck_t *q, request_t *r, answer_t *a)
{
    json_t *o = parse_body(r);
    bool bad = o == NULL;
    const char *id = text_member(o, "client_id", &bad), *secret = text_member(o, "client_secret", &bad);
    api_key_t *k;

    if (refused_on_purpose(q)) {
        answer_error(a, q->rules.refuse_code, "invalid credentials");
    } else if (bad) {
        answer_error(a, 400, "could not parse request");
        a->type = type_text;        /* as the real one: its headers have left by then */
    } else if (!id || !*id || !secret || !*secret) {
        answer_error(a, 400, "missing credentials");
    } else if (!(k = keyring_by_client(q->keys, id)) || !secret_matches(k, secret)) {
        answer_error(a, 403, "invalid credentials");
        log_line("auth: wrong credentials for client id \"%.64s\"", id);
    } else {
        answer_tokens(q, a, k, k->used_seconds, k->used_nanos);
        wall_now(&k->used_seconds, &k->used_nanos);
        log_line("auth: logged in: %s", k->client_id);
    }
    json_decref(o);
}

static void refresh(quarterdeck_t *q, request_t *r, answer_t *a)
{
    json_t *o = parse_body(r);
    bool bad = o == NULL;
    const char *token = text_member(o, "refresh_token", &bad), *org = text_member(o, "org_id", &bad);
    const api_key_t *k;
    claims_t claims;
    ulid_t org_id;

    if (org && *org && !ulid_parse(slice_text(org), &org_id)) bad = true;
    if (refused_on_purpose(q)) {
        answer_error(a, q->rules.refuse_code, refresh_refused);
    } else if (bad || !token || !*token) {
        answer_error(a, 400, refresh_refused);
    } else if (!auth_verify(q->auth, slice_text(token), &claims) || !claims.for_refresh ||
               !(k = keyring_by_id(q->keys, &claims.key)) ||
               (org && *org && !ulid_eq(&org_id, &claims.org))) {
        answer_error(a, 403, refresh_refused);
        log_line("auth: refresh refused");
    } else {
        answer_tokens(q, a, k, claims.issued, 0);
        log_line("auth: refreshed: %s", k->client_id);
    }
    json_decref(o);
}

/* As Go prints a duration. */
static json_t *state_object(const quarterdeck_t *q, const char *state)
{
    int64_t ms = now_ms() - q->started, s = ms / 1000;
    char up[64];

    if (s >= 3600)
        snprintf(up, sizeof up, "%lldh%dm%d.%03ds", (long long)(s / 3600), (int)(s / 60 % 60), (int)(s % 60),
                 (int)(ms % 1000));
    else if (s >= 60) snprintf(up, sizeof up, "%dm%d.%03ds", (int)(s / 60), (int)(s % 60), (int)(ms % 1000));
    else snprintf(up, sizeof up, "%d.%03ds", (int)s, (int)(ms % 1000));
    return json_pack("{s:s, s:s, s:s}", "status", state, "uptime", up, "version", SERVER_VERSION);
}

static void status(quarterdeck_t *q, request_t *r, answer_t *a)
{
    (void)r;
    answer_json(a, 200, state_object(q, "ok"));
}

static void key_set(quarterdeck_t *q, request_t *r, answer_t *a)
{
    (void)r;
    a->body = auth_key_set(q->auth);
    a->status = 200;
    a->type = type_json;
}

static void openid(quarterdeck_t *q, request_t *r, answer_t *a)
{
    const char *issuer = auth_issuer(q->auth);
    char root[128], keys[160];
    (void)r;

    snprintf(root, sizeof root, "%s/", issuer);
    snprintf(keys, sizeof keys, "%s/.well-known/jwks.json", issuer);
    answer_json(a, 200,
                json_pack("{s:s, s:s, s:[s], s:[s], s:[s,s], s:[s,s,s,s]}", "issuer", root, "jwks_uri", keys,
                          "subject_types_supported", "public", "id_token_signing_alg_values_supported",
                          "RS256", "response_types_supported", "token", "id_token", "claims_supported", "aud",
                          "exp", "iss", "sub"));
}

static void probe(quarterdeck_t *q, request_t *r, answer_t *a)
{
    (void)q;
    (void)r;
    a->status = 200;
    a->type = type_text;
    a->body = x_strdup("ok");
}

static const route_t routes[] = {
    { "POST", "/v1/authenticate", authenticate }, { "POST", "/v1/refresh", refresh },
    { "GET", "/v1/status", status },              { "GET", "/.well-known/jwks.json", key_set },
    { "GET", "/.well-known/openid-configuration", openid },
    { "GET", "/livez", probe },                   { "GET", "/healthz", probe },
    { "GET", "/readyz", probe },
};

static const route_t *find_route(const char *path, size_t n)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        if (strlen(routes[i].path) == n && memcmp(routes[i].path, path, n) == 0) return &routes[i];
    return NULL;
}

/* Probes are free. */
static bool within_rate(quarterdeck_t *q, const route_t *route, answer_t *a)
{
    int64_t now = now_ms();

    a->remaining = -1;
    if (!q->rules.rate_limited || (route && route->answer == probe)) return true;
    q->bucket += (now - q->filled) * RATE_PER_S;
    if (q->bucket > RATE_BURST * 1000) q->bucket = RATE_BURST * 1000;
    q->filled = now;
    if (q->bucket >= 1000) {
        q->bucket -= 1000;
        a->remaining = (int)(q->bucket / 1000);
        return true;
    }
    a->remaining = 0;
    return false;
}

static void choose_answer(quarterdeck_t *q, const char *method, const char *path, request_t *r, answer_t *a)
{
    size_t n = strlen(path);
    const route_t *route = find_route(path, n);

    if (!within_rate(q, route, a)) {
        answer_error(a, 429, "rate limit reached: too many requests");
    } else if (q->stopping || (q->rules.maintenance && !(route && route->answer == probe))) {
        answer_json(a, 503, state_object(q, q->stopping ? "stopping" : "maintenance"));
    } else if (!route && n > 1 && path[n - 1] == '/' && (route = find_route(path, n - 1)) != NULL) {
        answer_error(a, strcmp(method, "GET") == 0 ? 301 : 307, "the path has no slash at its end");
        a->location = x_strdup(route->path);
    } else if (!route) {
        answer_error(a, 404, "resource not found");
    } else if (strcmp(route->method, method) != 0) {
        answer_error(a, 405, "method not allowed");
    } else {
        route->answer(q, r, a);
    }
}

static enum MHD_Result respond(struct MHD_Connection *c, answer_t *a)
{
    const char *body = a->body ? a->body : "";
    char remaining[16], limit[16];
    struct MHD_Response *response = MHD_create_response_from_buffer(strlen(body), (void *)(uintptr_t)body,
                                                                    MHD_RESPMEM_MUST_COPY);
    enum MHD_Result rc = MHD_NO;

    if (response) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, a->type);
        if (a->remaining >= 0) {
            snprintf(remaining, sizeof remaining, "%d", a->remaining);
            snprintf(limit, sizeof limit, "%d", RATE_BURST);
            MHD_add_response_header(response, "X-RateLimit-Limit", limit);
            MHD_add_response_header(response, "X-RateLimit-Remaining", remaining);
            MHD_add_response_header(response, "X-RateLimit-Reset", "1");
        }
        if (a->location) MHD_add_response_header(response, MHD_HTTP_HEADER_LOCATION, a->location);
        rc = MHD_queue_response(c, a->status, response);
        MHD_destroy_response(response);
    }
    free(a->body);
    free(a->location);
    return rc;
}

/* libmicrohttpd calls it once with the head, then for each piece of the body, and once more at the end. */
static enum MHD_Result on_request(void *user, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *data, size_t *size, void **state)
{
    request_t *r = *state;
    answer_t a;
    (void)version;

    if (!r) {
        *state = x_alloc(sizeof *r);
        return MHD_YES;
    }
    if (*size) {
        if (buf_len(&r->body) + *size > BODY_MAX) r->too_large = true;
        else buf_put(&r->body, data, *size);
        *size = 0;
        return MHD_YES;
    }
    memset(&a, 0, sizeof a);
    choose_answer(user, method, url, r, &a);
    log_line("auth: %s %s: %u", method, url, a.status);
    return respond(c, &a);
}

static void on_completed(void *user, struct MHD_Connection *c, void **state,
                         enum MHD_RequestTerminationCode code)
{
    request_t *r = *state;
    (void)user;
    (void)c;
    (void)code;
    if (!r) return;
    buf_free(&r->body);
    free(r);
    *state = NULL;
}

static bool take_plaintext(void *user, int fd)
{
    quarterdeck_t *q = user;
    struct sockaddr_un a;

    memset(&a, 0, sizeof a);
    a.sun_family = AF_UNIX;
    return MHD_add_connection(q->daemon, fd, (struct sockaddr *)&a, sizeof a) == MHD_YES;
}

static void on_epoll(void *owner, short got)
{
    (void)owner;        /* quarterdeck_run follows in the same turn */
    (void)got;
}

quarterdeck_t *quarterdeck_open(loop_t *l, int listen_fd, tls_server_t *tls, auth_t *auth, keyring_t *keys,
                                const quarterdeck_rules_t *rules, why_t *why)
{
    quarterdeck_t *q = x_alloc(sizeof *q);
    const union MHD_DaemonInfo *info;
    unsigned flags = MHD_USE_EPOLL | (tls ? MHD_USE_NO_LISTEN_SOCKET : 0);

    q->loop = l;
    q->auth = auth;
    q->keys = keys;
    q->rules = *rules;
    q->started = q->filled = now_ms();
    q->bucket = RATE_BURST * 1000;
    if (tls)
        q->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, q, MHD_OPTION_NOTIFY_COMPLETED,
                                     on_completed, q, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_END);
    else
        q->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, q, MHD_OPTION_NOTIFY_COMPLETED,
                                     on_completed, q, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S,
                                     MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_END);
    info = q->daemon ? MHD_get_daemon_info(q->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!info) {
        fail(why, "auth: libmicrohttpd does not start with epoll; build it with epoll support");
        if (q->daemon) MHD_stop_daemon(q->daemon);
        free(q);
        return NULL;
    }
    loop_add(l, &q->epoll, info->epoll_fd, POLLIN, on_epoll, q);
    if (tls) q->relays = relays_open(l, listen_fd, tls, take_plaintext, q);
    return q;
}

int quarterdeck_timeout(quarterdeck_t *q)
{
    MHD_UNSIGNED_LONG_LONG ms;
    if (MHD_get_timeout(q->daemon, &ms) != MHD_YES) return -1;
    return ms > 60000 ? 60000 : (int)ms;
}

void quarterdeck_run(quarterdeck_t *q)
{
    MHD_run(q->daemon);
    if (q->relays) relays_reap(q->relays);
}

void quarterdeck_stop(quarterdeck_t *q)
{
    q->stopping = true;
}

void quarterdeck_close(quarterdeck_t *q)
{
    if (!q) return;
    loop_remove(&q->epoll);
    relays_close(q->relays);
    loop_sweep(q->loop);
    MHD_stop_daemon(q->daemon);
    free(q);
}
