/* auth.c - section auth: moves, lives of tokens, requests, answers cut anywhere, what is left behind */
#include "wire.h"

/* ---- an auth without a client */

static ensi_env_t env;
static ensi_target_t there;
static ensi_endpoint_t place;
static ensi_link_t lonely;

static void open_auth(ensi_auth_t *a)
{
    static char host[] = "localhost";
    memset(&env, 0, sizeof env);
    env.mem.alloc = ensi_mem_default;
    env.now_ms = 5000;
    memset(&lonely, 0, sizeof lonely);
    lonely.env = &env;
    memset(&there, 0, sizeof there);
    memset(&place, 0, sizeof place);
    lonely.target = &there;
    lonely.end = there.end = there.endpoints = &place;
    there.endpoint_count = 1;
    place.host.name = host;
    place.host.port = 8088;
    snprintf(place.host.where, sizeof place.host.where, "localhost:8088");
    env.backoff_min_ms = 100;
    env.backoff_max_ms = 1000;
    memset(a, 0, sizeof *a);
    a->env = &env;
    a->link = &lonely;
    a->client_id = "id";
    a->client_secret = "secret";
    a->state = ENSI_AUTH_IDLE;
    assert_true(ensi_auth_memory(a));
    a->access = (char *)ensi_mem_zero(&env.mem, ENSI_AUTH_SCHEME + ENSI_AUTH_TOKEN_CAP);
    a->refresh = (char *)ensi_mem_zero(&env.mem, ENSI_AUTH_TOKEN_CAP);
    assert_non_null(a->access);
    assert_non_null(a->refresh);
}

static void close_auth(ensi_auth_t *a)
{
    ensi_auth_free(a);
    ensi_mem_close(&env.mem);
    assert_int_equal(env.mem.used, 0);
}

#define HOUR "{\"iat\":1000,\"exp\":4600}"
#define LATER "{\"iat\":1000,\"nbf\":3700,\"exp\":8200}"

/* A token with these claims, and no signature. */
static const char *token_of(const char *claims)
{
    static char text[2][600];
    static int turn;
    char *out = text[turn ^= 1];
    size_t len;
    memcpy(out, "e30.", 4);
    assert_int_equal(ensi_base64_encode((const uint8_t *)claims, strlen(claims), false, out + 4, 500, &len),
                     ENSIGN_OK);
    for (size_t i = 4; i < len + 4; i++) out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
    memcpy(out + 4 + len, ".", 2);
    return out;
}

static void moves_every_pair(void **state)
{
    static const struct { int from, in, to; } good[] = {
        { ENSI_AUTH_IDLE, ENSI_AUTH_ON_NEED, ENSI_AUTH_ASKING },
        { ENSI_AUTH_READY, ENSI_AUTH_ON_NEED, ENSI_AUTH_ASKING },
        { ENSI_AUTH_ASKING, ENSI_AUTH_ON_TOKEN, ENSI_AUTH_READY },
        { ENSI_AUTH_ASKING, ENSI_AUTH_ON_FAULT, ENSI_AUTH_WAIT },
        { ENSI_AUTH_ASKING, ENSI_AUTH_ON_STALE, ENSI_AUTH_IDLE },
        { ENSI_AUTH_ASKING, ENSI_AUTH_ON_DENIED, ENSI_AUTH_DENIED },
        { ENSI_AUTH_WAIT, ENSI_AUTH_ON_DUE, ENSI_AUTH_IDLE },
    };
    (void)state;
    for (int from = 0; from < ENSI_AUTH_STATES; from++) {
        for (int in = 0; in < ENSI_AUTH_INPUTS; in++) {
            int to = -1;
            ensi_auth_t a;
            for (size_t i = 0; i < COUNT(good); i++)
                if (good[i].from == from && good[i].in == in) to = good[i].to;
            memset(&a, 0, sizeof a);
            a.state = (ensi_auth_state_t)from;
            assert_int_equal(ensi_auth_move(&a, (ensi_auth_in_t)in), to >= 0);
            assert_int_equal(a.state, to >= 0 ? to : from);
        }
    }
}

/* ---- lives */

static void spans_hold_any_dates(void **state)
{
    static const struct { int64_t from, to; uint32_t want; } rows[] = {
        { 100, 3700, 3600 }, { 100, 100, 0 }, { 101, 100, 0 }, { 0, INT64_MAX, ENSI_AUTH_LIFE_MAX_S },
        { INT64_MIN, INT64_MAX, ENSI_AUTH_LIFE_MAX_S }, { INT64_MAX, INT64_MIN, 0 }, { -10, 10, 20 },
        { 0, ENSI_AUTH_LIFE_MAX_S, ENSI_AUTH_LIFE_MAX_S },
        { 1, ENSI_AUTH_LIFE_MAX_S, ENSI_AUTH_LIFE_MAX_S - 1 },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_int_equal(ensi_auth_span(rows[i].from, rows[i].to), rows[i].want);
}

static void tokens_are_renewed_in_time(void **state)
{
    enum { NEVER = -1, MAX_MS = ENSI_AUTH_LIFE_MAX_S * 1000 };
    static const struct {
        const char *access, *refresh;   /* claims; NULL: no such token; no '{': the token itself */
        int64_t renew, expire, from;    /* ms from now */
        bool kept;                      /* the refresh token */
    } rows[] = {
        { HOUR, LATER, 2880000, 3600000, 2700000, true },
        { HOUR, "{\"iat\":1000,\"nbf\":4500}", 3500000, 3600000, 3500000, true },
        { HOUR, "{\"iat\":1000,\"nbf\":4600}", 2880000, 3600000, 3600000, false },
        { HOUR, "{\"iat\":1000,\"nbf\":900}", 2880000, 3600000, 0, true },
        { HOUR, "{\"nbf\":4600}", 2880000, 3600000, 0, true },
        { HOUR, "opaque", 2880000, 3600000, 0, true },
        { HOUR, NULL, 2880000, 3600000, 0, false },
        { "{\"nbf\":1000,\"exp\":1100}", NULL, 80000, 100000, 0, false },
        { "{\"iat\":1000,\"exp\":1000}", NULL, 800, 1000, 0, false },
        { "{\"iat\":1000,\"exp\":10}", NULL, 800, 1000, 0, false },
        { "{\"iat\":1000.9,\"exp\":1001.1}", NULL, 800, 1000, 0, false },
        { "{\"exp\":4600}", "{\"iat\":1,\"nbf\":9}", NEVER, NEVER, 0, true },
        { "{\"iat\":1000}", NULL, NEVER, NEVER, 0, false },
        { "opaque", "opaque", NEVER, NEVER, 0, true },
        { "a.!.c", NULL, NEVER, NEVER, 0, false },
        { "{\"iat\":1,\"exp\":253402300799}", NULL, MAX_MS / 5 * 4, MAX_MS, 0, false },
        { "{\"iat\":-9223372036854775807,\"exp\":9223372036854775806}", NULL, NEVER, NEVER, 0, false },
        { HOUR, "{\"iat\":-9223372036854775807,\"nbf\":9223372036854775806}", 2880000, 3600000, 0, true },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *access = rows[i].access, *refresh = rows[i].refresh;
        ensi_auth_t a;
        open_auth(&a);
        snprintf(a.access, ENSIGN_TOKEN_BYTES, "Bearer %s", access[0] == '{' ? token_of(access) : access);
        if (refresh)
            snprintf(a.refresh, ENSIGN_TOKEN_BYTES, "%s", refresh[0] == '{' ? token_of(refresh) : refresh);
        ensi_timer_start(&a.renew, 1);
        ensi_timer_start(&a.expire, 1);
        ensi_auth_lives(&a);
        if (a.renew.state != (rows[i].renew == NEVER ? ENSI_TIMER_OFF : ENSI_TIMER_FRESH) ||
            a.expire.state != (rows[i].expire == NEVER ? ENSI_TIMER_OFF : ENSI_TIMER_FRESH) ||
            (rows[i].renew != NEVER && a.renew.after_ms != rows[i].renew) ||
            (rows[i].expire != NEVER && a.expire.after_ms != rows[i].expire) ||
            a.refresh_from_ms != env.now_ms + (uint64_t)rows[i].from || (a.refresh[0] != 0) != rows[i].kept)
            fail_msg("row %d: renew %u, expire %u, refresh from %d, kept %d", (int)i,
                     (unsigned)a.renew.after_ms, (unsigned)a.expire.after_ms,
                     (int)(a.refresh_from_ms - env.now_ms), a.refresh[0] != 0);
        close_auth(&a);
    }
}

/* ---- requests */

static void bodies_are_json(void **state)
{
    static const struct { const char *id, *secret, *body; } rows[] = {
        { "id", "s", "{\"client_id\":\"id\",\"client_secret\":\"s\"}" },
        { "i\"d", "a\\b\n", "{\"client_id\":\"i\\\"d\",\"client_secret\":\"a\\\\b\\n\"}" },
        { "\xc3\xa4", "", "{\"client_id\":\"\xc3\xa4\",\"client_secret\":\"\"}" },
        { "id", "\xff", NULL }, /* no UTF-8 */
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        size_t len = rows[i].body ? strlen(rows[i].body) : 0;
        char out[200];
        ensi_auth_t a;
        open_auth(&a);
        a.client_id = rows[i].id;
        a.client_secret = rows[i].secret;
        assert_int_equal(ensi_auth_body(&a, out, sizeof out), len);
        if (len) assert_memory_equal(out, rows[i].body, len);
        for (size_t cap = 1; cap <= len; cap++) { /* in memory of just its size */
            char *small = (char *)malloc(cap);
            assert_int_equal(ensi_auth_body(&a, small, cap), cap < len ? 0 : ensi_auth_body(&a, small, cap));
            free(small);
        }
        close_auth(&a);
    }
}

static void a_refresh_sends_the_refresh_token_alone(void **state)
{
    char out[100];
    ensi_auth_t a;
    size_t n;
    (void)state;
    open_auth(&a);
    a.refreshing = true;
    strcpy(a.refresh, "a.b.c");
    n = ensi_auth_body(&a, out, sizeof out);
    assert_int_equal(n, 25);
    assert_memory_equal(out, "{\"refresh_token\":\"a.b.c\"}", n);
    close_auth(&a);
}

static void host_is_as_browsers_write_it(void **state)
{
    static const struct { const char *host; uint16_t port; bool secure; const char *want; } rows[] = {
        { "auth.example", 443, true, "auth.example" },  { "auth.example", 80, true, "auth.example:80" },
        { "auth.example", 80, false, "auth.example" },  { "auth.example", 8088, false, "auth.example:8088" },
        { "::1", 8088, false, "[::1]:8088" },           { "::1", 443, true, "[::1]" },
    };
    char name[256], out[ENSI_AUTH_HOST_BYTES];
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensi_endpoint_t t;
        memset(&t, 0, sizeof t);
        snprintf(name, sizeof name, "%s", rows[i].host);
        t.host.name = name;
        t.host.port = rows[i].port;
        t.secure = rows[i].secure;
        ensi_auth_host(&t, out, sizeof out);
        assert_string_equal(out, rows[i].want);
        memset(name, 'n', sizeof name - 1); /* the longest name is not cut */
        name[sizeof name - 1] = '\0';
        t.host.port = 65535;
        ensi_auth_host(&t, out, sizeof out);
        assert_int_equal(strlen(out), 255 + 6);
    }
}

/* ---- with a client */

static ensign_desc_t key_desc(void)
{
    ensign_desc_t d = plain_desc();
    d.client_id = "id";
    d.client_secret = "s3cr3t";
    d.auth_url = "http://127.0.0.1:8088";
    return d;
}

static char sent[20000];

/* Waits for the next exchange and returns its request. */
static const char *request(void)
{
    ensign_link_t l;
    for (int i = 0; i < 2000; i++) {
        ensign_link(client, ENSIGN_LINK_AUTH, &l);
        if (l.todo == ENSIGN_LINK_DIAL) break;
        if (l.todo == ENSIGN_LINK_HANGUP) hang_up(ENSIGN_LINK_AUTH, 0);
        pass(100);
    }
    dial(ENSIGN_LINK_AUTH);
    drain(ENSIGN_LINK_AUTH, sent, sizeof sent);
    assert_non_null(strstr(sent, "POST /v1/"));
    return sent;
}

static void reply_bytes(int status, const char *body, size_t len)
{
    static char text[40000];
    int n = snprintf(text, sizeof text, "HTTP/1.1 %d x\r\nContent-Length: %lu\r\n\r\n", status,
                     (unsigned long)len);
    memcpy(text + n, body, len);
    feed(ENSIGN_LINK_AUTH, text, (size_t)n + len);
    hang_up(ENSIGN_LINK_AUTH, 0);
}

static void reply(int status, const char *body)
{
    reply_bytes(status, body, strlen(body));
}

/* The service's answer: a token for an hour, and one that refreshes it from minute 45 on. */
static void granting(char *out, size_t cap)
{
    snprintf(out, cap, "{\"access_token\":\"%s\",\"refresh_token\":\"%s\"}", token_of(HOUR), token_of(LATER));
}

static void grant(void)
{
    char body[1500];
    granting(body, sizeof body);
    reply(200, body);
}

/* A call that waits, so that a token is needed all the time. */
static ensign_call_t demand(void)
{
    ensign_call_desc_t d = method();
    d.wait_for_ready = true;
    return ensign_call_open(client, &d);
}

/* The client asks the auth service; the call that makes it do so. */
static ensign_call_t start_asking(const ensign_desc_t *d, bool connected)
{
    ensign_call_t k;
    start(d);
    if (connected) connect_rpc();
    k = demand();
    request();
    return k;
}

/* The token that is asked for is granted, and time goes by until it is renewed. */
static void grant_until_renewal(void)
{
    grant();
    pass(1);
    pass(2880000);
}

static void is_for(const char *req, const char *path)
{
    char head[60];
    snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: 127.0.0.1:8088\r\n", path);
    if (strncmp(req, head, strlen(head)) != 0) fail_msg("%.100s", req);
}

static void a_key_becomes_a_token(void **state)
{
    ensign_desc_t d = key_desc();
    (void)state;
    start(&d);
    demand();
    is_for(request(), "/v1/authenticate");
    assert_non_null(strstr(sent, "{\"client_id\":\"id\",\"client_secret\":\"s3cr3t\"}"));
    grant();
    assert_int_equal(client->auth.state, ENSI_AUTH_READY);
    assert_string_equal(client->auth.bearer + 7, token_of(HOUR));
    stop();
}

/* The answer is cut behind each of its bytes: before the last one it is a failure, and tried again. */
static void an_exchange_may_be_cut_at_every_byte(void **state)
{
    char text[1500], body[1200];
    size_t len;
    (void)state;
    granting(body, sizeof body);
    len = (size_t)snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %lu\r\n\r\n%s",
                           (unsigned long)strlen(body), body);
    for (size_t cut = 0; cut <= len; cut++) {
        ensign_desc_t d = key_desc();
        start_asking(&d, false);
        if (cut > 0) feed(ENSIGN_LINK_AUTH, text, cut);
        hang_up(ENSIGN_LINK_AUTH, cut % 2 ? 104 : 0);
        assert_int_equal(client->auth.state, cut < len ? ENSI_AUTH_WAIT : ENSI_AUTH_READY);
        assert_int_equal(client->auth.bearer != NULL, cut == len);
        if (cut < len) {
            assert_int_equal(client->auth.fault.code, ENSIGN_E_AUTH);
            assert_int_equal(client->auth.fault.native, 0);
            is_for(request(), "/v1/authenticate");
            grant();
            assert_int_equal(client->auth.state, ENSI_AUTH_READY);
        }
        stop();
    }
}

/* Does any of the buffers that an exchange goes through hold this text? */
static bool holds(const void *p, size_t n, const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; p && i + len <= n; i++)
        if (memcmp((const char *)p + i, text, len) == 0) return true;
    return false;
}

/* realloc of zeroed memory: `holds` looks at all of a buffer, also at what was never written. */
static void *zeroing(void *user, void *old, size_t size)
{
    size_t had = old ? ensi_mem_size((uint8_t *)old + ENSI_MEM_HEADER) + ENSI_MEM_HEADER : 0;
    uint8_t *p = ensi_mem_default(NULL, old, size);
    (void)user;
    if (p && size > had) memset(p + had, 0, size - had);
    return p;
}

static void nothing_is_left_behind(void **state)
{
    static const int statuses[] = { 200, 500, 403 };
    (void)state;
    for (size_t i = 0; i < COUNT(statuses); i++) {
        ensign_desc_t d = key_desc();
        const ensi_link_t *l;
        char body[1500];
        d.alloc = zeroing;
        start(&d);
        l = &client->links[ENSIGN_LINK_AUTH];
        demand();
        request();
        assert_true(holds(l->tx.ptr, l->tx.cap, "s3cr3t"));
        snprintf(body, sizeof body, "{\"error\":\"no\",\"access_token\":\"%s\"}", token_of(HOUR));
        reply(statuses[i], body);
        assert_false(holds(l->tx.ptr, l->tx.cap, "s3cr3t"));
        assert_false(holds(l->rx.ptr, l->rx.cap, token_of(HOUR)));
        assert_false(holds(client->auth.body, ENSI_AUTH_BODY_BYTES, token_of(HOUR)));
        assert_false(holds(client->auth.body, ENSI_AUTH_BODY_BYTES, "s3cr3t"));
        stop();
    }
}

/* With enough before it that a freed block's own first bytes do not cover it. */
static const char long_secret[] = "thirty-two-characters-before-the-s3cr3t";
static const char *watched[4];      /* texts that no memory may hold when it is given back */
static bool freed_dirty;

/* realloc that looks at what is given back. */
static void *watching(void *user, void *old, size_t size)
{
    size_t had = size == 0 && old ? ensi_mem_size((uint8_t *)old + ENSI_MEM_HEADER) : 0;
    for (size_t i = 0; i < COUNT(watched) && had; i++)
        if (watched[i] && holds(old, had + ENSI_MEM_HEADER, watched[i])) freed_dirty = true;
    return zeroing(user, old, size);
}

/* Destroys the client, whose memory held each of these texts. */
static void is_wiped_at_destroy(const char *a, const char *b, const char *c)
{
    watched[0] = a;
    watched[1] = b;
    watched[2] = c;
    freed_dirty = false;
    stop();
    memset(watched, 0, sizeof watched);
    assert_false(freed_dirty);
}

static void the_secret_is_wiped_at_destroy(void **state)
{
    ensign_desc_t d = key_desc();
    (void)state;
    d.client_secret = long_secret;
    d.alloc = watching;
    start_asking(&d, false);
    is_wiped_at_destroy("s3cr3t", NULL, NULL);
}

static void tokens_are_wiped_at_destroy(void **state)
{
    static const char half[] =
        "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"access_token\":\"half-of-it";
    ensign_desc_t d = key_desc();
    char access[600], refresh[600];
    (void)state;
    snprintf(access, sizeof access, "%s", token_of(HOUR));
    snprintf(refresh, sizeof refresh, "%s", token_of(LATER));
    d.client_secret = long_secret;
    d.alloc = watching;
    start_asking(&d, false);
    grant();
    assert_true(holds(client->auth.access, ensi_mem_size(client->auth.access), access));
    assert_true(holds(client->auth.refresh, ensi_mem_size(client->auth.refresh), refresh));
    is_wiped_at_destroy("s3cr3t", access, refresh);

    start_asking(&d, false); /* while the answer is only half there */
    feed(ENSIGN_LINK_AUTH, half, sizeof half - 1);
    assert_true(holds(client->auth.body, ENSI_AUTH_BODY_BYTES, "half-of-it"));
    is_wiped_at_destroy("s3cr3t", "half-of-it", NULL);

    d = plain_desc(); /* the program's own */
    d.alloc = watching;
    d.token = "a-fixed-token-whose-end-is-looked-for";
    start(&d);
    assert_string_equal(client->auth.bearer + 7, d.token);
    is_wiped_at_destroy("end-is-looked-for", NULL, NULL);
}

static void tokens_may_be_as_long_as_the_limit(void **state)
{
    static char body[ENSIGN_TOKEN_BYTES + 100];
    (void)state;
    for (size_t over = 0; over < 2; over++) {
        ensign_desc_t d = key_desc();
        size_t n = 0;
        start_asking(&d, false);
        n = (size_t)snprintf(body, sizeof body, "{\"access_token\":\"");
        memset(body + n, 't', ENSIGN_TOKEN_BYTES + over);
        memcpy(body + n + ENSIGN_TOKEN_BYTES + over, "\"}", 2);
        reply_bytes(200, body, n + ENSIGN_TOKEN_BYTES + over + 2);
        assert_int_equal(client->auth.state, over ? ENSI_AUTH_WAIT : ENSI_AUTH_READY);
        if (!over) assert_int_equal(strlen(client->auth.bearer), 7 + ENSIGN_TOKEN_BYTES);
        assert_int_equal(client->auth.renew.state, ENSI_TIMER_OFF); /* opaque: until it is refused */
        stop();
    }
}

static void what_is_no_token_is_refused(void **state)
{
    static const char *const bodies[] = {
        "", "{}", "[]", "null", "{\"access_token\":\"\"}", "{\"access_token\":null}", "{\"access_token\":7}",
        "{\"access_token\":\"a b\"}", "{\"access_token\":\"a\\r\\nx: y\"}",
        "{\"access_token\":\"a\\u0000b\"}", "{\"access_token\":\"a\\u007fb\"}",
        "{\"access_token\":\"\\u00e4\"}",
        "{\"access_token\":\"a\"", "<html>",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(bodies); i++) {
        ensign_desc_t d = key_desc();
        start_asking(&d, false);
        reply(200, bodies[i]);
        if (client->auth.state != ENSI_AUTH_WAIT) fail_msg("taken: %s", bodies[i]);
        assert_null(client->auth.bearer);
        assert_int_equal(client->auth.fault.native, 200);
        stop();
    }
}

/* All but 400 and 403 may pass: the key is asked again, after a backoff, and the client does not fail. */
static void only_400_and_403_are_final(void **state)
{
    static const int statuses[] = { 201, 204, 301, 401, 402, 404, 405, 408, 409, 418, 429, 500, 502, 503 };
    (void)state;
    for (size_t i = 0; i < COUNT(statuses); i++) {
        ensign_desc_t d = key_desc();
        ensign_call_t k = start_asking(&d, false);
        const ensign_notice_t *n;
        reply(statuses[i], statuses[i] == 204 ? "" : "{\"error\":\"not today\"}");
        if (client->auth.state != ENSI_AUTH_WAIT) fail_msg("HTTP %d is final", statuses[i]);
        assert_int_equal(client->auth.fault.native, statuses[i]);
        assert_int_equal(client->auth.fault.code, ENSIGN_E_AUTH);
        is_for(request(), "/v1/authenticate");
        grant();
        assert_int_equal(client->auth.state, ENSI_AUTH_READY);
        while ((n = next(k)) != NULL) assert_int_equal(n->type, ENSIGN_NOTICE_WAITING); /* it goes on */
        assert_false(client->failed);
        stop();
    }
}

/* A renewal that fails leaves the token that is still good; the next try is by the key. */
static void a_failed_renewal_keeps_the_token(void **state)
{
    static const struct { int status; const char *body; } rows[] = {
        { 500, "{\"error\":\"Oops\"}" }, { 200, "<html>" }, { 200, "{\"access_token\":17}" },
        { 404, "" }, { 429, "" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensign_desc_t d = key_desc();
        start_asking(&d, false);
        grant_until_renewal();
        is_for(request(), "/v1/refresh");
        assert_non_null(strstr(sent, token_of(LATER)));
        reply(rows[i].status, rows[i].body);
        assert_int_equal(client->auth.state, ENSI_AUTH_WAIT);
        assert_non_null(client->auth.bearer);
        assert_string_equal(client->auth.bearer + 7, token_of(HOUR));
        is_for(request(), "/v1/authenticate");
        reply(500, "");
        assert_non_null(client->auth.bearer);
        is_for(request(), "/v1/authenticate"); /* a second failure changes nothing */
        grant();
        assert_int_equal(client->auth.state, ENSI_AUTH_READY);
        assert_int_equal(client->auth.backoff.failures, 0);
        stop();
    }
}

static void a_token_may_expire_while_a_renewal_waits(void **state)
{
    ensign_desc_t d = key_desc();
    ensign_call_desc_t cd = method();
    ensign_call_t k;
    (void)state;
    d.backoff_min_ms = d.backoff_max_ms = 900000;
    start_asking(&d, true);
    grant();
    pass(1);
    pass(3500000);
    request();
    reply(503, "");
    assert_int_equal(client->auth.state, ENSI_AUTH_WAIT);
    assert_non_null(client->auth.bearer);
    ensi_timer_start(&client->auth.retry, 900000);
    pass(1);
    pass(100000);
    assert_null(client->auth.bearer);
    assert_int_equal(client->auth.state, ENSI_AUTH_WAIT);
    k = ensign_call_open(client, &cd); /* it does not wait */
    pass(1);
    assert_true(end_of(k, ENSIGN_GRPC_UNAVAILABLE)->as.end.unprocessed);
    stop();
}

/* Refusing a refresh needs no backoff: the key is asked at once, and its refusal is final. */
static void a_refused_key_is_final(void **state)
{
    ensign_desc_t d = key_desc();
    ensign_call_t k;
    const ensign_notice_t *n;
    (void)state;
    k = start_asking(&d, false);
    grant_until_renewal();
    is_for(request(), "/v1/refresh");
    reply(403, "{\"error\":\"log in\"}");
    assert_int_equal(client->auth.state, ENSI_AUTH_ASKING); /* by the key, already */
    is_for(request(), "/v1/authenticate");
    reply(403, "{\"error\":\"invalid credentials\"}");
    assert_int_equal(client->auth.state, ENSI_AUTH_DENIED);
    assert_null(client->auth.bearer);
    n = end_of(k, ENSIGN_GRPC_UNAUTHENTICATED);
    assert_int_equal(n->error->code, ENSIGN_E_CREDENTIALS);
    assert_int_equal(n->error->native, 403);
    ensi_auth_reject(&client->auth); /* late: nothing wakes it again */
    pass(100000);
    assert_int_equal(client->auth.state, ENSI_AUTH_DENIED);
    stop();
}

static wire_t w;

static void refuse(uint32_t id)
{
    put_headers(&w, END_STREAM, id, ":status", "200", "content-type", "application/grpc", "grpc-status", "16",
                NULL);
    feed_frames(&w);
}

static void grant_opaque(const char *token)
{
    char body[100];
    snprintf(body, sizeof body, "{\"access_token\":\"%s\"}", token);
    reply(200, body);
}

/* A plain call that is refused costs the token; one that went out with an older token does not. */
static void unauthenticated_brings_a_new_token(void **state)
{
    ensign_desc_t d = key_desc();
    ensign_call_desc_t cd = method();
    ensign_call_t a, b;
    (void)state;
    a = start_asking(&d, true);
    grant_opaque("first");
    pass(1);
    b = call(&cd);
    drain(ENSIGN_LINK_RPC, NULL, 0);
    refuse(1);
    end_of(a, ENSIGN_GRPC_UNAUTHENTICATED);
    assert_null(client->auth.bearer);
    is_for(request(), "/v1/authenticate");
    grant_opaque("second");
    assert_string_equal(client->auth.bearer, "Bearer second");
    refuse(3);
    end_of(b, ENSIGN_GRPC_UNAUTHENTICATED);
    assert_string_equal(client->auth.bearer, "Bearer second");
    cd.no_token = true;
    b = call(&cd);
    refuse(5);
    end_of(b, ENSIGN_GRPC_UNAUTHENTICATED);
    assert_string_equal(client->auth.bearer, "Bearer second");
    stop();
}

/* Also while a renewal waits for its next try: the old token must not go out again. */
static void a_token_may_be_refused_while_a_renewal_waits(void **state)
{
    ensign_desc_t d = key_desc();
    ensign_call_desc_t cd = method();
    ensign_call_t k;
    (void)state;
    start_asking(&d, true);
    grant_until_renewal();
    request();
    reply(500, "");
    assert_int_equal(client->auth.state, ENSI_AUTH_WAIT);
    k = call(&cd);
    refuse(3);
    end_of(k, ENSIGN_GRPC_UNAUTHENTICATED);
    assert_null(client->auth.bearer);
    is_for(request(), "/v1/authenticate");
    stop();
}

static void no_token_and_no_key_ask_nobody(void **state)
{
    ensign_desc_t d = plain_desc();
    ensign_call_desc_t cd = method();
    ensign_call_t k;
    ensign_link_t l;
    (void)state;
    start(&d);
    connect_rpc();
    k = call(&cd);
    refuse(1);
    end_of(k, ENSIGN_GRPC_UNAUTHENTICATED);
    pass(100000);
    ensign_link(client, ENSIGN_LINK_AUTH, &l);
    assert_int_equal(l.todo, ENSIGN_LINK_IDLE);
    stop();
}

static bool scarce;
static int still_there;             /* allocations, while scarce */

static void *scarcely(void *user, void *old, size_t size)
{
    if (size > 0 && scarce && still_there-- <= 0) return NULL;
    return ensi_mem_default(user, old, size);
}

/* Where one of the three buffers cannot be had, it is said, and tried again. */
/* Before the question, at the access token of the answer, and at its refresh token. */
static void no_memory_for_the_tokens_is_tried_again(void **state)
{
    char body[800], token[300];
    (void)state;
    memset(token, 't', sizeof token); /* longer than a small block, which can be there anyway */
    snprintf(body, sizeof body, "{\"access_token\":\"%.300s\",\"refresh_token\":\"%.300s\"}", token, token);
    for (int have = 0; have < 3; have++) {
        ensign_desc_t d = key_desc();
        d.alloc = scarcely;
        start(&d);
        demand();
        if (have > 0) is_for(request(), "/v1/authenticate");
        scarce = true;
        still_there = have > 0 ? have - 1 : 0;
        if (have > 0) reply(200, body);
        else pass(1);
        assert_null(client->auth.bearer);
        assert_int_equal(client->auth.state, ENSI_AUTH_WAIT);
        assert_non_null(strstr(client->auth.fault.text, "no memory for the tokens"));
        scarce = false;
        is_for(request(), "/v1/authenticate");
        grant();
        assert_int_equal(client->auth.state, ENSI_AUTH_READY);
        stop();
    }
}

static void no_memory_for_a_status_ends_the_request(void **state)
{
    ensign_desc_t d = key_desc();
    const ensign_notice_t *n;
    ensign_request_t r;
    (void)state;
    d.alloc = scarcely;
    start(&d);
    r = ensign_auth_status(client, NULL);
    assert_int_not_equal(r.id, 0);
    scarce = true;
    still_there = 0;
    pass(1);
    pass(1);
    scarce = false;
    n = ensign_next_of(client, r.id);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_END);
    assert_non_null(strstr(n->error->text, "no memory for the answer"));
    stop();
}

/* A secret that JSON has no way to write. */
static void a_key_that_is_no_utf8_is_told(void **state)
{
    ensign_desc_t d = key_desc();
    (void)state;
    d.client_secret = "\xff\xfe";
    start(&d);
    demand();
    pass(1);
    dial(ENSIGN_LINK_AUTH);
    assert_int_equal(client->auth.state, ENSI_AUTH_WAIT);
    assert_non_null(strstr(client->auth.fault.text, "the key is no UTF-8"));
    stop();
}

static void a_fixed_token_stays(void **state)
{
    ensign_desc_t d = plain_desc();
    ensign_call_desc_t cd = method();
    ensign_call_t k;
    (void)state;
    d.token = "fixed";
    start(&d);
    connect_rpc();
    k = call(&cd);
    refuse(1);
    end_of(k, ENSIGN_GRPC_UNAUTHENTICATED);
    assert_string_equal(client->auth.bearer, "Bearer fixed");
    assert_int_equal(client->auth.state, ENSI_AUTH_FIXED);
    stop();
}

static void a_success_ends_the_row_of_failures(void **state)
{
    ensign_desc_t d = key_desc();
    ensign_link_t l;
    (void)state;
    start(&d);
    demand();
    for (int i = 0; i < 5; i++) {
        pass(100000);
        pass(1);
        ensign_link(client, ENSIGN_LINK_AUTH, &l);
        if (l.todo == ENSIGN_LINK_DIAL) hang_up(ENSIGN_LINK_AUTH, 111);
    }
    assert_true(client->auth_target.backoff.failures > 1);
    request();
    grant();
    assert_int_equal(client->auth_target.backoff.failures, 0);
    assert_int_equal(client->auth.backoff.failures, 0);
    stop();
}

/* An auth service that always answers 500 is as good as one that is not there. */
static void answers_can_be_the_failure_that_is_given_up(void **state)
{
    ensign_desc_t d = key_desc();
    const ensign_notice_t *n;
    (void)state;
    d.give_up_after_ms = 20000;
    d.backoff_max_ms = 1000;
    start(&d);
    demand();
    for (int i = 0; i < 200 && !client->failed; i++) {
        ensign_link_t l;
        ensign_link(client, ENSIGN_LINK_AUTH, &l);
        if (l.todo == ENSIGN_LINK_DIAL) {
            request();
            reply(500, "{\"error\":\"could not complete request\"}");
        }
        pass(250);
    }
    assert_true(client->failed);
    n = ensign_next_of(client, ENSIGN_CLIENT);
    assert_int_equal(n->type, ENSIGN_NOTICE_FAILED);
    assert_int_equal(n->error->code, ENSIGN_E_AUTH);
    stop();
}

/* While the old token is good no call suffers, so nothing is given up; once it has ended, something is. */
static void a_failing_renewal_is_given_up_only_without_a_token(void **state)
{
    ensign_desc_t d = key_desc();
    (void)state;
    d.give_up_after_ms = 20000;
    d.backoff_max_ms = 1000;
    start_asking(&d, true);
    grant_until_renewal();
    for (uint64_t ms = 0; !client->failed; ms += 250) {
        ensign_link_t l;
        ensign_link(client, ENSIGN_LINK_AUTH, &l);
        if (l.todo == ENSIGN_LINK_DIAL) {
            request();
            reply(500, "");
        }
        pass(250);
        if (ms == 700000) assert_non_null(client->auth.bearer);
        if (ms < 720000) assert_false(client->failed);
        assert_true(ms < 800000);
    }
    assert_null(client->auth.bearer);
    stop();
}

/* Nobody needs the connection that was lost: nothing is tried, so nothing fails. */
static void an_idle_client_does_not_give_up(void **state)
{
    ensign_desc_t d = plain_desc();
    ensign_link_t l;
    (void)state;
    d.give_up_after_ms = 5000;
    start(&d);
    connect_rpc();
    hang_up(ENSIGN_LINK_RPC, 104);
    for (int i = 0; i < 10; i++) pass(1000);
    assert_false(client->failed);
    demand(); /* now it is needed */
    for (int i = 0; i < 1000 && !client->failed; i++) {
        ensign_link(client, ENSIGN_LINK_RPC, &l);
        if (l.todo == ENSIGN_LINK_DIAL) hang_up(ENSIGN_LINK_RPC, 111);
        pass(100);
    }
    assert_true(client->failed);
    stop();
}

/* A refresh token that cannot be sent does not hold up the client for ever. */
static void a_refresh_token_that_does_not_fit_is_given_up(void **state)
{
    ensign_desc_t d = key_desc();
    (void)state;
    start_asking(&d, false);
    grant();
    client->auth.refresh =
        (char *)ensi_mem_resize(&client->env.mem, client->auth.refresh, ENSIGN_TOKEN_BYTES + 1);
    client->env.secrets[ENSI_SECRET_REFRESH] = client->auth.refresh;
    memset(client->auth.refresh, 1, ENSIGN_TOKEN_BYTES); /* as JSON six times as long */
    client->auth.refresh[ENSIGN_TOKEN_BYTES] = '\0';
    pass(1);
    pass(2880000);
    dial(ENSIGN_LINK_AUTH);
    assert_int_equal(client->auth.state, ENSI_AUTH_WAIT);
    hang_up(ENSIGN_LINK_AUTH, 0);
    is_for(request(), "/v1/authenticate");
    stop();
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_every_pair),
        cmocka_unit_test(spans_hold_any_dates),
        cmocka_unit_test(tokens_are_renewed_in_time),
        cmocka_unit_test(bodies_are_json),
        cmocka_unit_test(a_refresh_sends_the_refresh_token_alone),
        cmocka_unit_test(host_is_as_browsers_write_it),
        cmocka_unit_test(a_key_becomes_a_token),
        cmocka_unit_test(an_exchange_may_be_cut_at_every_byte),
        cmocka_unit_test(nothing_is_left_behind),
        cmocka_unit_test(the_secret_is_wiped_at_destroy),
        cmocka_unit_test(tokens_are_wiped_at_destroy),
        cmocka_unit_test(tokens_may_be_as_long_as_the_limit),
        cmocka_unit_test(what_is_no_token_is_refused),
        cmocka_unit_test(only_400_and_403_are_final),
        cmocka_unit_test(a_failed_renewal_keeps_the_token),
        cmocka_unit_test(a_token_may_expire_while_a_renewal_waits),
        cmocka_unit_test(a_refused_key_is_final),
        cmocka_unit_test(unauthenticated_brings_a_new_token),
        cmocka_unit_test(a_token_may_be_refused_while_a_renewal_waits),
        cmocka_unit_test(no_token_and_no_key_ask_nobody),
        cmocka_unit_test(no_memory_for_the_tokens_is_tried_again),
        cmocka_unit_test(no_memory_for_a_status_ends_the_request),
        cmocka_unit_test(a_key_that_is_no_utf8_is_told),
        cmocka_unit_test(a_fixed_token_stays),
        cmocka_unit_test(a_success_ends_the_row_of_failures),
        cmocka_unit_test(answers_can_be_the_failure_that_is_given_up),
        cmocka_unit_test(a_failing_renewal_is_given_up_only_without_a_token),
        cmocka_unit_test(an_idle_client_does_not_give_up),
        cmocka_unit_test(a_refresh_token_that_does_not_fit_is_given_up),
    };
    return cmocka_run_group_tests_name("auth", tests, NULL, NULL);
}
