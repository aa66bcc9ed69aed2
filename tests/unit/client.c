/* client.c - the client's desc, its life and its pump, on a fake link: the test is the loop and the server */
#define _POSIX_C_SOURCE 200809L
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#include <errno.h>
#include <setjmp.h>
#include <cmocka.h>

enum { RPC = ENSIGN_LINK_RPC, AUTH = ENSIGN_LINK_AUTH, SOON = 1, SEEN = 32 };

static char row[80]; /* what a test that goes over a table is at */

typedef struct fake_t {
    ensign_t *c;
    ensign_desc_t d;
    uint64_t now;
    unsigned wakes, count, fail_at, refuse_over;
    size_t live, peak;
    ensign_notice_t seen[SEEN];         /* as pulled; what they point at is not kept */
    int codes[SEEN];                    /* of their errors */
    size_t n;
} fake_t;

static void *counted(void *user, void *old, size_t size)
{
    fake_t *f = (fake_t *)user;
    size_t *p = old ? (size_t *)old - 2 : NULL;
    size_t was = p ? *p : 0;
    if (size == 0) {
        f->live -= was;
        free(p);
        return NULL;
    }
    f->count++;
    if (f->fail_at && f->count == f->fail_at) return NULL;
    if (f->refuse_over && size > f->refuse_over) return NULL;
    p = (size_t *)realloc(p, size + 2 * sizeof *p);
    assert_non_null(p);
    if (size > was) memset((char *)(p + 2) + was, 0, size - was); /* `watched` looks at all of it */
    *p = size;
    f->live += size - was;
    if (f->live > f->peak) f->peak = f->live;
    return p + 2;
}

static void woken(void *user)
{
    ((fake_t *)user)->wakes++;
}

static void prepare(fake_t *f)
{
    memset(f, 0, sizeof *f);
    f->now = 1000;
    f->d.endpoint = "127.0.0.1:443";
    f->d.tls.off = true;
    f->d.io = ENSIGN_IO_CALLER;
    f->d.seed = 1;
    f->d.user = f;
    f->d.alloc = counted;
    f->d.wake = woken;
}

static void with_key(fake_t *f, const char *auth_url)
{
    f->d.client_id = "id";
    f->d.client_secret = "secret";
    f->d.auth_url = auth_url;
}

static void create(fake_t *f)
{
    ensign_error_t why;
    int rc = ensign_create(&f->d, &f->c, &why);
    if (rc != ENSIGN_OK) fail_msg("ensign_create: %s", why.text);
}

static void begin(fake_t *f)
{
    prepare(f);
    create(f);
}

static void destroy(fake_t *f)
{
    ensign_destroy(f->c);
    assert_int_equal(f->live, 0);
    row[0] = '\0';
}

/* A test that fails in a row of a table says in which. */
static int tell_row(void **state)
{
    (void)state;
    if (row[0]) print_message("# in the row: %s\n", row);
    row[0] = '\0';
    return 0;
}

/* The loop that the manual shows, without anything that moves bytes: one step for each time that is up. */
static void pass(fake_t *f, uint64_t ms)
{
    uint64_t end = f->now + ms;
    for (int steps = 0;; steps++) {
        int t = ensi_client_timer(f->c, f->now);
        assert_in_range(steps, 0, 10000); /* a step was due, and did nothing */
        if (t < 0 || f->now + (uint64_t)t > end) break;
        f->now += (uint64_t)t;
        assert_int_equal(ensign_tick(f->c, f->now), ENSIGN_OK);
        assert_false(f->c->env.work);
        assert_false(f->c->env.stepping);
    }
    f->now = end;
}

static ensign_link_do_t todo(const fake_t *f, int link)
{
    ensign_link_t l;
    ensign_link(f->c, link, &l);
    return l.todo;
}

static uint32_t attempt(const fake_t *f, int link)
{
    ensign_link_t l;
    ensign_link(f->c, link, &l);
    return l.attempt;
}

static void up(fake_t *f, int link)
{
    assert_int_equal(todo(f, link), ENSIGN_LINK_DIAL);
    assert_int_equal(ensign_link_up(f->c, link, attempt(f, link), 0, f->now), ENSIGN_OK);
}

static void down(fake_t *f, int link, int native)
{
    assert_int_equal(ensign_link_down(f->c, link, attempt(f, link), native, f->now), ENSIGN_OK);
}

static void give(fake_t *f, int link, const void *bytes, size_t len)
{
    size_t cap;
    uint8_t *to = ensign_rx_buf(f->c, link, &cap);
    assert_non_null(to);
    assert_true(cap >= len);
    memcpy(to, bytes, len);
    assert_int_equal(ensign_rx_ack(f->c, link, len, f->now), ENSIGN_OK);
}

static void take(fake_t *f, int link)
{
    size_t len;
    while (ensign_tx_buf(f->c, link, &len)) assert_int_equal(ensign_tx_ack(f->c, link, len), ENSIGN_OK);
}

static void frame(fake_t *f, uint8_t type, uint8_t flags, uint32_t stream, const void *body, size_t len)
{
    uint8_t head[9];
    ensi_put_be32(head, (uint32_t)len << 8 | type);
    head[4] = flags;
    ensi_put_be32(head + 5, stream);
    give(f, RPC, head, sizeof head);
    if (len) give(f, RPC, body, len);
}

static void settings(fake_t *f)
{
    frame(f, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
}

/* From wherever it is to CONNECTED. */
static void connect_it(fake_t *f)
{
    pass(f, SOON);
    up(f, RPC);
    take(f, RPC);
    settings(f);
    take(f, RPC);
    assert_true(f->c->conn->connected);
    assert_int_equal(todo(f, ENSIGN_LINK_RPC_2), ENSIGN_LINK_IDLE);
}

/* Takes all notices, and looks at the order that rule 11 wants. */
static size_t pull(fake_t *f)
{
    const ensign_notice_t *n;
    f->n = 0;
    while ((n = ensign_next(f->c)) != NULL) {
        assert_true(f->n < SEEN);
        f->codes[f->n] = n->error ? n->error->code : 0;
        f->seen[f->n++] = *n;
    }
    return f->n;
}

static uint32_t call(fake_t *f, bool wait)
{
    ensign_call_desc_t d;
    memset(&d, 0, sizeof d);
    d.method = "/test.Service/Method";
    d.wait_for_ready = wait;
    return ensign_call_open(f->c, &d).id;
}

/* ------------------------------------------------------------------ the desc */
static void endpoints(void **state)
{
    static const struct { const char *text; uint16_t fallback; const char *host; uint16_t port; } good[] = {
        { "a:1", 0, "a", 1 },
        { "ensign.rotational.app:443", 0, "ensign.rotational.app", 443 },
        { "1.2.3.4:65535", 0, "1.2.3.4", 65535 },
        { "[::1]:443", 0, "::1", 443 },
        { "[fe80::1%eth0]:00080", 0, "fe80::1%eth0", 80 },
        { "my_service:5356", 0, "my_service", 5356 },
        { "a", 443, "a", 443 },
        { "[::1]", 80, "::1", 80 },
    };
    static const char *const bad[] = {
        "", ":", ":443", "a", "a:", "a:0", "a:65536", "a:123456", "a:-1", "a:+1", "a: 1", "a:1 ", "a:1x",
        "::1", "::1:443", "[::1", "[::1]", "[::1]443", "[::1]:", "[]:443", "[a]:443", "https://a:443",
        "a/b:443", "a b:443", "a\n:443", "me@a:443", "\xC3\xA4:443", "[::1]x:443",
    };
    char host[16 + 256], longest[300];
    uint16_t port;
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(good); i++) {
        if (!ensi_create_split(good[i].text, good[i].fallback, host, sizeof host, &port))
            fail_msg("refused: \"%s\"", good[i].text);
        assert_string_equal(host, good[i].host);
        assert_int_equal(port, good[i].port);
    }
    for (size_t i = 0; i < ENSI_COUNT(bad); i++)
        if (ensi_create_split(bad[i], 0, host, sizeof host, &port)) fail_msg("taken: \"%s\"", bad[i]);
    memset(longest, 'a', sizeof longest);
    memcpy(longest + 256, ":1", 3);
    assert_false(ensi_create_split(longest, 0, host, 256, &port));
    memcpy(longest + 255, ":1", 3);
    assert_true(ensi_create_split(longest, 0, host, 256, &port));
    assert_int_equal(strlen(host), 255);
}

static void what_is_an_address_and_what_is_this_machine(void **state)
{
    static const struct { const char *host; bool literal, loopback; } rows[] = {
        { "1.2.3.4", true, false }, { "127.0.0.1", true, true }, { "127.9.9.9", true, true },
        { "::1", true, true }, { "::2", true, false }, { "fe80::1%eth0", true, false },
        { "128.0.0.1", true, false }, { "1.127.0.0", true, false }, { "localhost", false, true },
        { "a", false, false }, { "1234", false, false }, { "127.1", false, false },
        { "1.2.3.4.example", false, false }, { "127.0.0.1.example", false, false },
        { "127.example", false, false }, { "localhost.example", false, false },
        /* the shape of an address, and none: nobody knows where it leads */
        { "127.0.0.256", true, false }, { "127.0.1000.1", true, false }, { "127.0..1", true, false },
        { "127.255.255.255", true, true }, { "0:0:0:0:0:0:0:1", true, true }, { "::0001", true, true },
        { "::ffff:127.0.0.1", true, false }, { "::0.0.0.1", true, true }, { "1::1", true, false },
        { "::127.0.0.1", true, false }, { "::1:1", true, false }, { "::1::", true, false },
    };
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(rows); i++) {
        bool literal = ensi_create_is_literal(rows[i].host), loopback = ensi_create_is_loopback(rows[i].host);
        if (literal != rows[i].literal || loopback != rows[i].loopback)
            fail_msg("%s: address %d, this machine %d", rows[i].host, literal, loopback);
    }
}

/* What is refused, and a word that the text must have: the field. */
static void refused(const ensign_desc_t *d, const char *word)
{
    ensign_t *c = (ensign_t *)1;
    ensign_error_t why;
    memset(&why, 0, sizeof why);
    assert_int_equal(ensign_create(d, &c, &why), ENSIGN_E_ARGUMENT);
    assert_null(c);
    assert_int_equal(why.code, ENSIGN_E_ARGUMENT);
    if (!strstr(why.text, word) || strncmp(why.text, "client: ", 8) != 0)
        fail_msg("no \"%s\" in: %s", word, why.text);
    assert_int_equal(ensign_create(d, &c, NULL), ENSIGN_E_ARGUMENT);
    assert_null(c);
}

static void a_bad_desc_is_refused_by_name(void **state)
{
    static char longest[9000];
    ensign_method_t m[2];
    fake_t f;
#define REFUSED(word, change)                                                                                \
    do {                                                                                                     \
        prepare(&f);                                                                                         \
        change;                                                                                              \
        refused(&f.d, word);                                                                                 \
        assert_int_equal(f.live, 0);                                                                         \
    } while (0)
    (void)state;
    memset(longest, 'x', sizeof longest - 1);
    REFUSED("endpoint", f.d.endpoint = NULL);
    REFUSED("endpoint", f.d.endpoint = "");
    REFUSED("endpoint", f.d.endpoint = "https://a:443");
    REFUSED("connection_window", f.d.connection_window = 65534);
    REFUSED("connection_window", f.d.connection_window = 0x80000000u);
    REFUSED("keepalive_ms is 999, 1000 to", f.d.keepalive_ms = 999);
    REFUSED("max_handles", f.d.max_handles = 65001);
    REFUSED("backoff_max_ms", f.d.backoff_min_ms = 30001);
    REFUSED("retry.max_attempts is 6, 1 to 5 are allowed", f.d.retry.max_attempts = 6);
    REFUSED("retry.backoff_min_ms is 5001, above backoff_max_ms 5000; lower the one or raise the other",
            f.d.retry.backoff_min_ms = 5001);
    REFUSED("retry.backoff_min_ms is 3600001, 1 to 3600000 are", f.d.retry.backoff_min_ms = 3600001);
    REFUSED("retry.backoff_max_ms is 4294967295", f.d.retry.backoff_max_ms = ENSIGN_FOREVER);
    REFUSED("retry.statuses is 0x1; only bits 1 to 16 are", f.d.retry.statuses = 1u << ENSIGN_GRPC_OK);
    REFUSED("retry.statuses is 0x20000; only bits 1 to 16", f.d.retry.statuses = 1u << 17);
#define REFUSED_METHODS(word, change)                                                                        \
    REFUSED(word, (memset(m, 0, sizeof m), m[0].method = "/a.B/", m[1].method = "/a.B/C", f.d.methods = m,   \
                   f.d.method_count = 2, change))
    REFUSED_METHODS("methods[1].method \"a.B/C\" must be \"/package.Service/Method\", or \"/package.Service/",
                    m[1].method = "a.B/C");
    REFUSED_METHODS("methods[1].method \"/a.B\" must be", m[1].method = "/a.B");
    REFUSED_METHODS("methods[1].method \"/\" must be", m[1].method = "/");
    REFUSED_METHODS("methods[0].method \"\" must be", m[0].method = NULL);
    REFUSED_METHODS("methods[0].method \"/a.B/ \" must be", m[0].method = "/a.B/ ");
    REFUSED_METHODS("methods[1].method \"/a.B/\" is in methods[0], too; leave one out",
                    m[1].method = "/a.B/");
    REFUSED_METHODS("methods[1].retry.max_attempts is 9, 1 to 5", m[1].retry.max_attempts = 9);
    REFUSED_METHODS("methods[0].retry.backoff_min_ms is 9000, above backoff_max_ms 5000",
                    m[0].retry.backoff_min_ms = 9000);
    REFUSED_METHODS("methods[0].retry.statuses is 0x4001", m[0].retry.statuses = 0x4001);
    REFUSED_METHODS("method_count is 1001, 0 to 1000 are", f.d.method_count = 1001);
    REFUSED("method_count is 1, and methods is NULL", f.d.method_count = 1);
    REFUSED("io", f.d.io = 3);
    REFUSED("io", f.d.io = -1);
    REFUSED("name", f.d.name = longest);
    REFUSED("user_agent", f.d.user_agent = longest);
    REFUSED("user_agent", f.d.user_agent = "a\r\nX: y");
    REFUSED("authority", f.d.authority = longest);
    REFUSED("authority", f.d.authority = "");
    REFUSED("authority", f.d.authority = "a\nb");
    REFUSED("token", f.d.token = "");
    REFUSED("token", f.d.token = "abc\n");
    REFUSED("token begins or ends with a blank", f.d.token = "abc ");
    REFUSED("user_agent begins or ends with a blank", f.d.user_agent = " a");
    REFUSED("authority begins or ends with a blank", f.d.authority = "a ");
    REFUSED("token", f.d.token = longest);
    REFUSED("token and client_id", (f.d.token = "a", f.d.client_id = "b", f.d.client_secret = "c"));
    REFUSED("client_secret", f.d.client_id = "a");
    REFUSED("client_secret", (f.d.client_id = "a", f.d.client_secret = ""));
    REFUSED("client_secret", f.d.client_secret = "a");
    REFUSED("client_id", (f.d.client_id = "", f.d.client_secret = "a"));
    REFUSED("allow_plaintext_token", (f.d.token = "a", f.d.endpoint = "a:1"));
    REFUSED("allow_plaintext_token", (f.d.token = "a", f.d.endpoint = "127.0.0.256:1"));
    REFUSED("allow_plaintext_token", with_key(&f, "http://a"));
    REFUSED("auth_url", with_key(&f, "ftp://a"));
    REFUSED("auth_url", with_key(&f, "https://a/b"));
    REFUSED("auth_url", with_key(&f, "https://a//"));
    REFUSED("auth_url", with_key(&f, "https://"));
    REFUSED("auth_url", with_key(&f, "https://a:"));
    REFUSED("auth_url", with_key(&f, "https://me@a"));
    REFUSED("auth_url \"\"", with_key(&f, "https://a,"));
    REFUSED("auth_url \"ftp://b\"", with_key(&f, "https://a,ftp://b"));
}

static const char *const one_of_them[] = { "a:1", NULL };

static void lists_of_endpoints_are_refused_by_name(void **state)
{
    static char longest[400], many[400];
    fake_t f;
    (void)state;
    snprintf(longest, sizeof longest, "unix:/%0107d", 0); /* one byte more than fits */
    for (int i = 0; i < 65; i++) strcat(many, i ? ",a:1" : "a:1");
    REFUSED("endpoint \"\" is not host:port", f.d.endpoint = "a:1,,b:2");
    REFUSED("endpoint \"\" is not host:port", f.d.endpoint = "a:1,");
    REFUSED("endpoint \"b\" is not host:port", f.d.endpoint = "a:1,b");
    REFUSED("has 108 bytes, 1 to 107 are allowed", f.d.endpoint = longest);
    REFUSED("has 0 bytes, 1 to 107 are allowed", f.d.endpoint = "unix:");
    REFUSED("number of endpoints is 65, 1 to 64 are allowed", f.d.endpoint = many);
    REFUSED("endpoint and endpoints are both set", (f.d.endpoints = one_of_them, f.d.endpoint_count = 1));
    f.d.endpoint = NULL;
    REFUSED("endpoint_count is 1 and endpoints is NULL", (f.d.endpoint = NULL, f.d.endpoint_count = 1));
    REFUSED("endpoint_count is 0 and endpoints is set", (f.d.endpoint = NULL, f.d.endpoints = one_of_them));
    REFUSED("endpoints[1] is NULL",
            (f.d.endpoint = NULL, f.d.endpoints = one_of_them, f.d.endpoint_count = 2));
    /* each endpoint is looked at, not the first one alone */
    REFUSED("a token would go in plaintext to b:2", (f.d.token = "t", f.d.endpoint = "localhost:1,b:2"));
    REFUSED("the key would go in plaintext to c:80", with_key(&f, "http://localhost,http://c"));
}

static void proxies_are_refused_by_name(void **state)
{
    static char longest[500];
    fake_t f;
    (void)state;
    snprintf(longest, sizeof longest, "http://%0385d@b:1", 0);
#define PROXY(word, text) REFUSED(word, (f.d.endpoint = "a:1", f.d.proxy = text))
    PROXY("proxy begins with \"socks5://\"; only http:// proxies can be used", "socks5://b:1");
    PROXY("proxy begins with \"https://\"; only http:// proxies can be used", "https://me:secret@b:1");
    PROXY("proxy (HTTPS_PROXY) is not http://[user:password@]host:port", "http://b");
    PROXY("it is not shown", "http://me:secret@b:0");
    PROXY("it is not shown", "http://b:1/x");
    PROXY("before the @ of proxy ...@b:1 is over 384 bytes, or has a % that", "me:a%00b@b:1");
    PROXY("before the @ of proxy ...@b:1 is over 384 bytes", longest);
    PROXY("before the @ of proxy ...@b:1 is over 384 bytes, or has a % that", "me:a%4@b:1");
    PROXY("before the @ of proxy ...@b:1 is over 384 bytes, or has a % that", "me:a%4g@b:1");
    /* plaintext through a proxy is seen by it, wherever it leads */
    REFUSED("a token would go in plaintext to localhost:1 through the proxy; list it in no_proxy (NO_PROXY)",
            (f.d.token = "t", f.d.endpoint = "localhost:1", f.d.proxy = "b:1", f.d.no_proxy = ""));
    REFUSED("the key would go in plaintext to localhost:80 through the proxy",
            (with_key(&f, "http://localhost"), f.d.proxy = "b:1", f.d.no_proxy = "127.0.0.1"));
    /* a proxy that no endpoint uses is not checked */
    prepare(&f);
    f.d.endpoint = "localhost:1";
    f.d.proxy = "socks5://b:1";
    create(&f);
    destroy(&f);
}

static void no_proxy_lists_who_goes_without(void **state)
{
    static const struct { const char *list, *endpoint; bool proxied; } rows[] = {
        { NULL, "a:1", true }, { NULL, "localhost:1", false }, { NULL, "127.3.4.5:1", false },
        { NULL, "[::1]:1", false }, { NULL, "128.0.0.1:1", true }, { NULL, "my.localhost:1", false },
        { "", "localhost:1", true }, { "*", "a:1", false }, { "x, *", "a:1", false },
        { "example.com", "example.com:1", false }, { "example.com", "Deep.In.EXAMPLE.com:1", false },
        { ".example.com", "example.com:1", false }, { "example.com", "myexample.com:1", true },
        { "example.com:2", "example.com:1", true }, { "example.com:1", "example.com:1", false },
        { " a , example.com ", "example.com:1", false }, { "com", "example.com:1", false },
        { "10.1.2.3", "10.1.2.3:1", false }, { "10.1.2.3", "10.1.2.4:1", true },
        { "10.0.0.0/8", "10.9.9.9:1", false }, { "10.0.0.0/8", "11.0.0.1:1", true },
        { "10.128.0.0/9", "10.129.0.1:1", false }, { "10.128.0.0/9", "10.127.0.1:1", true },
        { "10.0.0.0/33", "10.0.0.0:1", true }, { "10.0.0.0/8", "10.example:1", true },
        { "0.0.0.0/0", "9.9.9.9:1", false }, { "2001:db8::/32", "[2001:db8:7::1]:1", false },
        { "2001:db8::/32", "[2001:db9::1]:1", true }, { "2001:DB8::1", "[2001:db8:0::1]:1", false },
        { "[2001:db8::1]:1", "[2001:db8::1]:1", false }, { "[2001:db8::1]:2", "[2001:db8::1]:1", true },
        { "10.0.0.0/", "10.0.0.1:1", true }, { "10.0.0.0/x", "10.0.0.1:1", true },
        { "10.0.0.0/8:1", "10.0.0.1:1", true }, { "fe80::/10", "[fe80::1%eth0]:1", false },
        { "fe80::1", "[fe80::1%eth0]:1", false }, { "example.com.", "a.example.com:1", false },
        { "example.com", "a.example.com.:1", false }, { "*.example.com", "a.example.com:1", false },
        { "*.example.com", "example.org:1", true }, { "x example.com\ty", "example.com:1", false },
        { "0.0.1", "10.0.0.1:1", true }, { "", "unix:/x", false }, { "/8", "a:1", true }, { ".", "a:1", true },
    };
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(rows); i++) {
        fake_t f;
        prepare(&f);
        f.d.endpoint = rows[i].endpoint;
        f.d.proxy = "http://proxy.example:3128";
        f.d.no_proxy = rows[i].list;
        create(&f);
        if ((f.c->rpc_target.endpoints[0].proxy != NULL) != rows[i].proxied)
            fail_msg("%s by %s", rows[i].endpoint, rows[i].list ? rows[i].list : "default");
        destroy(&f);
    }
}

/* With room for each of several endpoints, and a proxy's credentials: at each allocation that fails, and within
 * the bound. */
static void endpoints_and_a_proxy_are_within_the_bound(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        fake_t f;
        int rc;
        prepare(&f);
        f.d.endpoint = "a:1,b.example:2,unix:/run/x,[::1]:4";
        f.d.proxy = "http://me:password@proxy.example:3128";
        f.d.authority = "service";
        f.fail_at = n;
        rc = ensign_create(&f.d, &f.c, NULL);
        if (rc == ENSIGN_OK) {
            assert_true(f.peak <= ensign_memory_bound(&f.d));
            assert_int_equal(f.c->rpc_target.endpoint_count, 4);
            destroy(&f);
            return;
        }
        assert_int_equal(rc, ENSIGN_E_MEMORY);
        assert_int_equal(f.live, 0);
    }
}

static void auth_urls(void **state)
{
    static const struct { const char *url, *host; uint16_t port; bool secure; } good[] = {
        { NULL, "auth.rotational.app", 443, true },
        { "https://a", "a", 443, true },
        { "https://a/", "a", 443, true },
        { "https://a:8443/", "a", 8443, true },
        { "https://[::1]", "::1", 443, true },
        { "http://localhost", "localhost", 80, false },
        { "http://[::1]:8088", "::1", 8088, false },
    };
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(good); i++) {
        fake_t f;
        prepare(&f);
        with_key(&f, good[i].url);
        create(&f);
        assert_string_equal(f.c->auth_target.endpoints[0].host.name, good[i].host);
        assert_int_equal(f.c->auth_target.endpoints[0].host.port, good[i].port);
        assert_int_equal(f.c->auth_target.endpoints[0].secure, good[i].secure);
        destroy(&f);
    }
}

enum { TEXTS = 18 };

static const ensign_method_t some_method = { "/a.B/", 5, { 2, 0, 0, 0 } };

static void fill_in(fake_t *f, char text[TEXTS][32])
{
    for (int i = 0; i < TEXTS; i++) snprintf(text[i], 32, "text-%d", i);
    snprintf(text[0], 32, "host-0:443");
    snprintf(text[1], 32, "https://host-1:444");
    prepare(f);
    f->d.tls.off = false;
    f->d.endpoint = text[0];
    f->d.auth_url = text[1];
    f->d.client_id = text[2];
    f->d.client_secret = text[3];
    f->d.authority = text[4];
    f->d.name = text[5];
    f->d.user_agent = text[6];
    f->d.tls.ca_file = text[7];
    f->d.auth_tls.ca_pem = ensign_str(text[8]);
    f->d.tls.server_name = text[9];
    f->d.auth_tls.server_name = text[10];
    f->d.tls.ca_pem = ensign_str(text[11]);
    f->d.methods = &some_method;
    f->d.method_count = 1;
    f->d.tls.cert_file = text[12];
    f->d.tls.key_file = text[13];
    f->d.tls.key_password = text[14];
    f->d.auth_tls.cert_pem = ensign_str(text[15]);
    f->d.auth_tls.key_pem = ensign_str(text[16]);
    f->d.auth_tls.key_password = text[17];
}

static void the_desc_is_copied(void **state)
{
    char text[TEXTS][32];
    fake_t f;
    ensign_t *c;
    (void)state;
    fill_in(&f, text);
    create(&f);
    memset(text, '!', sizeof text);
    memset(&f.d, 0xEE, sizeof f.d);
    c = f.c;
    assert_string_equal(c->rpc_target.endpoints[0].host.name, "host-0");
    assert_string_equal(c->auth_target.endpoints[0].host.name, "host-1");
    assert_string_equal(c->auth.client_id, "text-2");
    assert_string_equal(c->auth.client_secret, "text-3");
    assert_string_equal(c->authority, "text-4");
    assert_string_equal(c->stream_name, "text-5");
    assert_memory_equal(c->common.user_agent, "text-6 ensign.h/", 16);
    assert_string_equal(c->rpc_target.tls_opts.ca_file, "text-7");
    assert_true(ensi_slice_is(c->auth_target.tls_opts.ca_pem, "text-8"));
    assert_string_equal(c->rpc_target.server_name, "text-9");
    assert_string_equal(c->auth_target.server_name, "text-10");
    assert_true(ensi_slice_is(c->rpc_target.tls_opts.ca_pem, "text-11"));
    assert_ptr_not_equal(c->methods[0].method, some_method.method);
    assert_string_equal(c->methods[0].method, "/a.B/");
    assert_int_equal(c->methods[0].retry.max_attempts, 2);
    assert_string_equal(c->rpc_target.tls_opts.cert_file, "text-12");
    assert_string_equal(c->rpc_target.tls_opts.key_file, "text-13");
    assert_string_equal(c->rpc_target.tls_opts.key_password, "text-14");
    assert_true(ensi_slice_is(c->auth_target.tls_opts.cert_pem, "text-15"));
    assert_true(ensi_slice_is(c->auth_target.tls_opts.key_pem, "text-16"));
    assert_string_equal(c->auth_target.tls_opts.key_password, "text-17");
    destroy(&f);
}

/* ------------------------------------------------------------------ client certificates, versions of TLS */
static const char a_password[] = "a-password-that-is-kept-to-itself";
static const char a_key[] = "a-key-that-is-kept-to-itself";
static int leaks;                   /* blocks that were freed with the end of one of these in them */

static void *watched(void *user, void *old, size_t size)
{
    static const char end[] = "kept-to-itself"; /* a block on its way to be used again loses its beginning */
    size_t was = old && size == 0 ? ((size_t *)old)[-2] : 0;
    for (size_t at = 0; at + sizeof end - 1 <= was; at++)
        leaks += memcmp((const char *)old + at, end, sizeof end - 1) == 0;
    return counted(user, old, size);
}

static void copies_of_keys_and_passwords_are_wiped(void **state)
{
    fake_t f;
    (void)state;
    prepare(&f);
    f.d.alloc = watched;
    f.d.tls.cert_file = "cert.pem";
    f.d.tls.key_pem = ensign_str(a_key);
    f.d.tls.key_password = a_password;
    leaks = 0;
    create(&f);
    destroy(&f);
    assert_int_equal(leaks, 0);
    f.d.tls.cert_file = NULL; /* so is what a create that fails has copied; and it shows none of it */
    {
        ensign_error_t why;
        f.d.auth_tls.key_pem = ensign_str(a_key);
        f.d.auth_tls.key_password = a_password;
        assert_int_equal(ensign_create(&f.d, &f.c, &why), ENSIGN_E_ARGUMENT);
        assert_null(strstr(why.text, "kept-to-itself"));
    }
    assert_int_equal(leaks, 0);
    assert_int_equal(f.live, 0);
}

static void a_certificate_and_its_key_are_both_or_none(void **state)
{
    static const struct { const char *cert, *cert_pem, *key, *key_pem, *password, *says, *advice; } rows[] = {
        { "c", NULL, NULL, NULL, NULL, "cert_file is set without a key", ".key_file or key_pem" },
        { NULL, "c", NULL, NULL, NULL, "cert_pem is set without a key", ".key_file or key_pem" },
        { NULL, NULL, "k", NULL, NULL, "key_file is set without a certificate", ".cert_file or cert_pem" },
        { NULL, NULL, NULL, "k", "p", "key_pem is set without a certificate", ".cert_file or cert_pem" },
        { NULL, NULL, NULL, NULL, "p", "key_password is set without a key", ".key_file or key_pem" },
        { "c", "c", "k", NULL, NULL, "cert_file and cert_pem are both set", "give one of them" },
        { "c", NULL, "k", "k", NULL, "key_file and key_pem are both set", "give one of them" },
        { "c", NULL, "k", NULL, NULL, NULL, NULL },
        { "c", NULL, NULL, "k", "p", NULL, NULL },
        { NULL, "c", "k", NULL, "p", NULL, NULL },
        { NULL, "c", NULL, "k", NULL, NULL, NULL },
    };
    (void)state;
    for (size_t i = 0; i < 2 * ENSI_COUNT(rows); i++) {
        ensign_error_t why;
        fake_t f;
        ensign_tls_desc_t *t = i % 2 ? &f.d.auth_tls : &f.d.tls;
        const char *says = rows[i / 2].says;
        prepare(&f);
        t->cert_file = rows[i / 2].cert;
        t->key_file = rows[i / 2].key;
        t->key_password = rows[i / 2].password;
        if (rows[i / 2].cert_pem) t->cert_pem = ensign_str(rows[i / 2].cert_pem);
        if (rows[i / 2].key_pem) t->key_pem = ensign_str(rows[i / 2].key_pem);
        if (!says) {
            create(&f);
            destroy(&f);
            continue;
        }
        assert_int_equal(ensign_create(&f.d, &f.c, &why), ENSIGN_E_ARGUMENT);
        if (!strstr(why.text, says) || !strstr(why.text, rows[i / 2].advice) ||
            !strstr(why.text, i % 2 ? "client: auth_tls." : "client: tls."))
            fail_msg("\"%s\": %s", says, why.text);
        assert_int_equal(f.live, 0);
    }
}

static void versions_of_tls_are_checked(void **state)
{
    static const int good[] = { 0, ENSIGN_TLS_1_2, ENSIGN_TLS_1_3 }, bad[] = { 1, -1, 12, 0x0302, 0x0305 };
    ensign_error_t why;
    fake_t f;
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(good); i++) {
        bool lacks = good[i] == ENSIGN_TLS_1_3 && !ENSI_TLS_HAS_1_3;
        prepare(&f);
        f.d.tls.min_version = good[i];
        assert_int_equal(ensign_create(&f.d, &f.c, &why), lacks ? ENSIGN_E_ARGUMENT : ENSIGN_OK);
        if (lacks) assert_non_null(strstr(why.text, "tls.min_version is TLS 1.3, which this mbedTLS (2."));
        if (lacks) assert_non_null(strstr(why.text, "lacks; build with mbedTLS 3.6, or set ENSIGN_TLS_1_2"));
        destroy(&f);
    }
    for (size_t i = 0; i < ENSI_COUNT(bad); i++) {
        prepare(&f);
        f.d.auth_tls.min_version = bad[i];
        assert_int_equal(ensign_create(&f.d, &f.c, &why), ENSIGN_E_ARGUMENT);
        assert_non_null(strstr(why.text, "auth_tls.min_version is "));
        assert_non_null(strstr(why.text, "use ENSIGN_TLS_1_2 or ENSIGN_TLS_1_3"));
    }
}

static void create_fails_at_each_allocation(void **state)
{
    char text[TEXTS][32];
    unsigned failed = 0;
    (void)state;
    for (int key = 0; key < 2; key++) {
        for (unsigned at = 1;; at++) {
            ensign_error_t why;
            fake_t f;
            int rc;
            fill_in(&f, text);
            if (!key) f.d.client_id = f.d.client_secret = NULL, f.d.token = "token";
            f.fail_at = at;
            memset(&why, 0, sizeof why);
            rc = ensign_create(&f.d, &f.c, &why);
            if (rc == ENSIGN_OK) {
                destroy(&f);
                break;
            }
            failed++;
            assert_int_equal(rc, ENSIGN_E_MEMORY);
            assert_int_equal(why.code, ENSIGN_E_MEMORY);
            assert_non_null(strstr(why.text, "memory_limit"));
            assert_null(strstr(why.text, " 0 bytes"));
            assert_null(f.c);
            assert_int_equal(f.live, 0);
        }
    }
    assert_true(failed > 20);
}

/* What create takes for `methods` is in the bound, and is given back. */
static void the_bound_counts_methods(void **state)
{
    static char text[1000][200];
    static ensign_method_t m[1000];
    size_t bound;
    fake_t f;
    (void)state;
    prepare(&f);
    bound = ensign_memory_bound(&f.d);
    for (size_t i = 0; i < ENSI_COUNT(m); i++) {
        snprintf(text[i], sizeof text[i], "/%0150lu/", (unsigned long)i);
        m[i].method = text[i];
    }
    f.d.methods = m;
    f.d.method_count = ENSI_COUNT(m);
    assert_true(ensign_memory_bound(&f.d) - bound >= 1000 * (sizeof *m + 153));
    create(&f);
    assert_in_range(f.live, 1000 * (sizeof *m + 153), ensign_memory_bound(&f.d));
    destroy(&f);
}

static void a_limit_below_what_create_needs(void **state)
{
    ensign_error_t why;
    size_t limit, least = 0;
    (void)state;
    for (limit = 1; limit < 1u << 20 && !least; limit += 509) {
        fake_t f;
        prepare(&f);
        f.d.memory_limit = limit;
        if (ensign_create(&f.d, &f.c, &why) == ENSIGN_OK) least = limit;
        else assert_int_equal(why.code, ENSIGN_E_MEMORY);
        assert_true(f.peak <= limit);
        ensign_destroy(f.c);
        assert_int_equal(f.live, 0);
    }
    assert_in_range(least, sizeof(ensign_t), 200000);
}

/* ------------------------------------------------------------------ the environment */
static const char *const variables[] = { "ENSIGN_ENDPOINT", "ENSIGN_AUTH_URL", "ENSIGN_CLIENT_ID",
                                         "ENSIGN_CLIENT_SECRET", "ENSIGN_CA_FILE", "ENSIGN_INSECURE",
                                         "ENSIGN_NO_AUTHENTICATION", "HTTPS_PROXY", "https_proxy",
                                         "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy", "ENSIGN_ATTEMPTS",
                                         "ENSIGN_CERT_FILE", "ENSIGN_KEY_FILE", "ENSIGN_KEY_PASSWORD",
                                         "ENSIGN_MIN_TLS" };

static void clear_environment(void)
{
    for (size_t i = 0; i < ENSI_COUNT(variables); i++) unsetenv(variables[i]);
}

/* HTTPS_PROXY before ALL_PROXY, upper case before lower, what the program has set before all. */
static void proxies_of_the_environment(void **state)
{
    static const struct { const char *set[3], *proxy; } rows[] = {
        { { NULL }, NULL },
        { { "ALL_PROXY" }, "ALL_PROXY" },
        { { "all_proxy" }, "all_proxy" },
        { { "all_proxy", "ALL_PROXY" }, "ALL_PROXY" },
        { { "ALL_PROXY", "https_proxy" }, "https_proxy" },
        { { "ALL_PROXY", "https_proxy", "HTTPS_PROXY" }, "HTTPS_PROXY" },
    };
    ensign_desc_t d;
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(rows); i++) {
        clear_environment();
        for (size_t k = 0; k < 3 && rows[i].set[k]; k++) setenv(rows[i].set[k], rows[i].set[k], 1);
        memset(&d, 0, sizeof d);
        assert_int_equal(ensign_desc_env(&d, NULL), ENSIGN_OK);
        assert_null(d.no_proxy);
        if (rows[i].proxy) assert_string_equal(d.proxy, rows[i].proxy);
        else assert_null(d.proxy);
    }
    clear_environment();
    setenv("HTTPS_PROXY", "", 1); /* as if it were not there */
    setenv("NO_PROXY", "a.example", 1);
    memset(&d, 0, sizeof d);
    assert_int_equal(ensign_desc_env(&d, NULL), ENSIGN_OK);
    assert_null(d.proxy);
    assert_string_equal(d.no_proxy, "a.example");
    setenv("HTTPS_PROXY", "b", 1);
    memset(&d, 0, sizeof d);
    d.proxy = d.no_proxy = "";
    assert_int_equal(ensign_desc_env(&d, NULL), ENSIGN_OK);
    assert_string_equal(d.proxy, "");
    assert_string_equal(d.no_proxy, "");
    clear_environment();
}

static void booleans_of_the_environment(void **state)
{
    static const struct { const char *text; bool good, on; } rows[] = {
        { "1", true, true }, { "y", true, true }, { "t", true, true }, { "yes", true, true },
        { "true", true, true }, { "on", true, true }, { "YES", true, true }, { "True", true, true },
        { "oN", true, true }, { "", true, false }, { "0", true, false }, { "n", true, false },
        { "f", true, false }, { "no", true, false }, { "false", true, false }, { "off", true, false },
        { "FALSE", true, false }, { "2", false, false }, { "yess", false, false },
        { "truefalse", false, false }, { " 1", false, false }, { "on ", false, false },
        { "ja", false, false }, { "100000000000000", false, false },
    };
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(rows); i++) {
        ensign_error_t why;
        ensign_desc_t d;
        bool on = false;
        int rc;
        clear_environment();
        setenv("ENSIGN_INSECURE", rows[i].text, 1);
        rc = ensi_create_env_bool("ENSIGN_INSECURE", &on, &why);
        if (rc != (rows[i].good ? ENSIGN_OK : ENSIGN_E_FORMAT) || on != rows[i].on)
            fail_msg("\"%s\": %d, %s", rows[i].text, rc, on ? "on" : "off");
        if (rows[i].good) continue;
        memset(&d, 0, sizeof d);
        clear_environment();
        setenv("ENSIGN_NO_AUTHENTICATION", rows[i].text, 1);
        setenv("ENSIGN_ENDPOINT", "a:1", 1);
        if (ensign_desc_env(&d, &why) != ENSIGN_E_FORMAT || !strstr(why.text, "ENSIGN_NO_AUTHENTICATION") ||
            d.endpoint)
            fail_msg("\"%s\" is taken: %s", rows[i].text, why.text);
    }
    clear_environment();
}

static void the_environment_fills_what_is_left_open(void **state)
{
    ensign_desc_t d;
    ensign_error_t why;
    (void)state;
    clear_environment();
    memset(&d, 0, sizeof d);
    assert_int_equal(ensign_desc_env(&d, &why), ENSIGN_OK);
    assert_null(d.endpoint);
    assert_null(d.client_id);
    for (size_t i = 0; i < 5; i++) setenv(variables[i], variables[i], 1);
    assert_int_equal(ensign_desc_env(&d, NULL), ENSIGN_OK);
    assert_string_equal(d.endpoint, "ENSIGN_ENDPOINT");
    assert_string_equal(d.auth_url, "ENSIGN_AUTH_URL");
    assert_string_equal(d.client_id, "ENSIGN_CLIENT_ID");
    assert_string_equal(d.client_secret, "ENSIGN_CLIENT_SECRET");
    assert_string_equal(d.tls.ca_file, "ENSIGN_CA_FILE");
    assert_string_equal(d.auth_tls.ca_file, "ENSIGN_CA_FILE");
    assert_false(d.tls.off);
    memset(&d, 0, sizeof d);
    d.endpoint = "mine";
    d.tls.ca_pem = ensign_str("mine");
    d.token = "mine";
    setenv("ENSIGN_INSECURE", "on", 1);
    assert_int_equal(ensign_desc_env(&d, NULL), ENSIGN_OK);
    assert_string_equal(d.endpoint, "mine");
    assert_null(d.tls.ca_file);
    assert_null(d.client_id); /* a token stands for the key */
    assert_null(d.client_secret);
    assert_true(d.tls.off);
    memset(&d, 0, sizeof d);
    d.client_id = "mine";
    setenv("ENSIGN_NO_AUTHENTICATION", "1", 1);
    assert_int_equal(ensign_desc_env(&d, NULL), ENSIGN_OK);
    assert_string_equal(d.client_id, "mine");
    assert_null(d.client_secret);
    clear_environment();
}

static void attempts_of_the_environment(void **state)
{
    static const char *const bad[] = { "0", "6", "-1", "12", "1 ", " 1", "x", "3x", "1.5" };
    ensign_desc_t d;
    ensign_error_t why;
    (void)state;
    clear_environment();
    memset(&d, 0, sizeof d);
    setenv("ENSIGN_ATTEMPTS", "", 1);
    assert_int_equal(ensign_desc_env(&d, &why), ENSIGN_OK);
    assert_int_equal(d.retry.max_attempts, 0);
    setenv("ENSIGN_ATTEMPTS", "5", 1);
    assert_int_equal(ensign_desc_env(&d, &why), ENSIGN_OK);
    assert_int_equal(d.retry.max_attempts, 5);
    setenv("ENSIGN_ATTEMPTS", "1", 1);
    assert_int_equal(ensign_desc_env(&d, &why), ENSIGN_OK);
    assert_int_equal(d.retry.max_attempts, 5); /* the program's own stays */
    setenv("ENSIGN_ENDPOINT", "a:1", 1);
    for (size_t i = 0; i < ENSI_COUNT(bad); i++) {
        setenv("ENSIGN_ATTEMPTS", bad[i], 1);
        memset(&d, 0, sizeof d);
        if (ensign_desc_env(&d, &why) != ENSIGN_E_FORMAT || d.endpoint || d.retry.max_attempts ||
            !strstr(why.text, "ENSIGN_ATTEMPTS is \"") || !strstr(why.text, "use a number from 1 to 5"))
            fail_msg("\"%s\": %s", bad[i], why.text);
    }
    clear_environment();
}

static void the_environment_has_a_certificate(void **state)
{
    ensign_desc_t d;
    (void)state;
    clear_environment();
    setenv("ENSIGN_CERT_FILE", "env-cert", 1);
    setenv("ENSIGN_KEY_FILE", "env-key", 1);
    setenv("ENSIGN_KEY_PASSWORD", "env-password", 1);
    memset(&d, 0, sizeof d);
    assert_int_equal(ensign_desc_env(&d, NULL), ENSIGN_OK);
    assert_string_equal(d.tls.cert_file, "env-cert");
    assert_string_equal(d.tls.key_file, "env-key");
    assert_string_equal(d.tls.key_password, "env-password");
    assert_null(d.auth_tls.cert_file); /* the auth service gets the API key, and no certificate */
    assert_null(d.auth_tls.key_file);
    assert_null(d.auth_tls.key_password);
    for (int i = 0; i < 4; i++) { /* what the program has is never paired with what it has not */
        memset(&d, 0, sizeof d);
        if (i == 0) d.tls.cert_file = "mine";
        if (i == 1) d.tls.key_file = "mine";
        if (i == 2) d.tls.cert_pem = ensign_str("mine");
        if (i == 3) d.tls.key_pem = ensign_str("mine");
        assert_int_equal(ensign_desc_env(&d, NULL), ENSIGN_OK);
        if (i != 0) assert_null(d.tls.cert_file);
        if (i != 1) assert_null(d.tls.key_file);
        if (i == 1 || i == 3) assert_string_equal(d.tls.key_password, "env-password");
        else assert_null(d.tls.key_password);
    }
    clear_environment();
    setenv("ENSIGN_KEY_PASSWORD", "env-password", 1); /* alone it is for nothing */
    memset(&d, 0, sizeof d);
    assert_int_equal(ensign_desc_env(&d, NULL), ENSIGN_OK);
    assert_null(d.tls.key_password);
    clear_environment();
}

static void the_environment_has_a_version_of_tls(void **state)
{
    static const struct { const char *text; int rc, version; } rows[] = {
        { "1.2", ENSIGN_OK, ENSIGN_TLS_1_2 }, { "1.3", ENSIGN_OK, ENSIGN_TLS_1_3 }, { "", ENSIGN_OK, 0 },
        { "1.1", ENSIGN_E_FORMAT, 0 }, { "TLS1.2", ENSIGN_E_FORMAT, 0 }, { "1.30", ENSIGN_E_FORMAT, 0 },
    };
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(rows); i++) {
        ensign_error_t why;
        ensign_desc_t d;
        clear_environment();
        setenv("ENSIGN_MIN_TLS", rows[i].text, 1);
        setenv("ENSIGN_ENDPOINT", "a:1", 1);
        memset(&d, 0, sizeof d);
        d.auth_tls.min_version = i == 1 ? ENSIGN_TLS_1_2 : 0;
        assert_int_equal(ensign_desc_env(&d, &why), rows[i].rc);
        assert_int_equal(d.tls.min_version, rows[i].version);
        assert_int_equal(d.auth_tls.min_version, i == 1 ? ENSIGN_TLS_1_2 : rows[i].version);
        if (rows[i].rc == ENSIGN_OK) continue;
        assert_null(d.endpoint);
        assert_non_null(strstr(why.text, "environment: ENSIGN_MIN_TLS is \""));
        assert_non_null(strstr(why.text, "use 1.2 or 1.3"));
    }
    clear_environment();
}

/* ------------------------------------------------------------------ closing */
typedef enum { AT_BIRTH, AT_RESOLVE, AT_DIAL, AT_UP, AT_CONNECTED, AT_WAIT, AT_HANGUP, PLACES } place_t;

/* A client in that place, from a desc that is prepared. */
static void begin_at(fake_t *f, place_t place)
{
    static const char *const names[PLACES] = { "at birth", "at resolve", "at dial", "up", "connected",
                                               "waiting", "at hangup" };
    static const ensign_link_do_t want[PLACES] = { ENSIGN_LINK_IDLE, ENSIGN_LINK_RESOLVE, ENSIGN_LINK_DIAL,
                                                   ENSIGN_LINK_RUN,  ENSIGN_LINK_RUN,     ENSIGN_LINK_IDLE,
                                                   ENSIGN_LINK_HANGUP };
    prepare(f);
    if (place == AT_RESOLVE) f->d.endpoint = "a.example:443";
    f->d.backoff_min_ms = f->d.backoff_max_ms = 1000;
    f->d.connect_timeout_ms = 500;
    create(f);
    if (place == AT_CONNECTED) connect_it(f);
    else if (place != AT_BIRTH) pass(f, SOON);
    if (place == AT_UP) up(f, RPC);
    if (place == AT_WAIT) down(f, RPC, ECONNREFUSED);
    if (place == AT_HANGUP) pass(f, 500);
    assert_int_equal(todo(f, RPC), want[place]);
    snprintf(row, sizeof row, "%s", names[place]);
}

static void answer_hangup(fake_t *f)
{
    if (todo(f, RPC) == ENSIGN_LINK_HANGUP) down(f, RPC, 0);
}

/* CLOSED is there, is the last of all, and nothing is left to do. */
static void is_closed(fake_t *f, size_t ends)
{
    size_t n = pull(f), seen = 0;
    for (size_t i = 0; i < n; i++) seen += f->seen[i].type == ENSIGN_NOTICE_END;
    assert_int_equal(seen, ends);
    assert_true(n > 0);
    assert_int_equal(f->seen[n - 1].type, ENSIGN_NOTICE_CLOSED);
    assert_int_equal(f->seen[n - 1].handle, ENSIGN_CLIENT);
    assert_true(f->seen[n - 1].last);
    answer_hangup(f);
    pass(f, 100000);
    assert_int_equal(pull(f), 0);
    assert_int_equal(todo(f, RPC), ENSIGN_LINK_IDLE);
    assert_int_equal(ensign_timeout(f->c, f->now), -1);
    assert_int_equal(call(f, true), 0);
    assert_int_equal(ensign_error(f->c)->code, ENSIGN_E_STATE);
}

static void is_open(fake_t *f)
{
    for (size_t i = pull(f); i-- > 0;) assert_int_not_equal(f->seen[i].type, ENSIGN_NOTICE_CLOSED);
}

static void close_without_handles_in_each_state(void **state)
{
    static const uint32_t times[] = { 0, 700, ENSIGN_FOREVER };
    (void)state;
    for (int place = 0; place < PLACES; place++) {
        for (size_t t = 0; t < ENSI_COUNT(times); t++) {
            fake_t f;
            begin_at(&f, (place_t)place);
            assert_int_equal(ensign_close(f.c, ENSIGN_CLIENT, times[t]), ENSIGN_OK);
            assert_int_equal(ensign_close(f.c, ENSIGN_CLIENT, 0), ENSIGN_OK); /* restarts the time */
            assert_int_equal(ensign_timeout(f.c, f.now), 0);
            pass(&f, 0);
            is_closed(&f, 0);
            destroy(&f);
        }
    }
}

static void close_with_a_call_in_each_state(void **state)
{
    static const uint32_t times[] = { 0, 700 };
    (void)state;
    for (int place = 0; place < PLACES; place++) {
        for (size_t t = 0; t < ENSI_COUNT(times); t++) {
            fake_t f;
            begin_at(&f, (place_t)place);
            assert_int_not_equal(call(&f, true), 0);
            assert_int_equal(ensign_close(f.c, ENSIGN_CLIENT, times[t]), ENSIGN_OK);
            if (times[t]) {
                pass(&f, times[t] - 1);
                is_open(&f);
            }
            pass(&f, 1);
            is_closed(&f, 1);
            destroy(&f);
        }
    }
}

static void close_for_ever_waits_for_the_last_handle(void **state)
{
    ensign_call_t k;
    fake_t f;
    (void)state;
    begin_at(&f, AT_CONNECTED);
    k.id = call(&f, true);
    pass(&f, 0);
    assert_int_equal(ensign_close(f.c, ENSIGN_CLIENT, ENSIGN_FOREVER), ENSIGN_OK);
    pass(&f, 100000);
    is_open(&f);
    assert_int_equal(ensign_timeout(f.c, f.now), -1);
    assert_int_equal(ensign_cancel(f.c, k.id), ENSIGN_OK);
    pass(&f, 0);
    is_closed(&f, 1);
    destroy(&f);
}

static void nothing_is_renewed_after_the_end(void **state)
{
    /* {"iat":1,"exp":3601} */
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 54\r\n\r\n"
                               "{\"access_token\":\"e30.eyJpYXQiOjEsImV4cCI6MzYwMX0.e30\"}";
    fake_t f;
    (void)state;
    prepare(&f);
    with_key(&f, "http://127.0.0.1:8088");
    create(&f);
    connect_it(&f);
    up(&f, AUTH);
    give(&f, AUTH, text, sizeof text - 1);
    assert_int_equal(f.c->auth.state, ENSI_AUTH_READY);
    assert_int_equal(f.c->auth.backoff.failures, 0);
    down(&f, AUTH, 0);
    pass(&f, 1);
    assert_int_equal(pull(&f), 1);
    assert_in_range(ensign_timeout(f.c, f.now), 1, 3600 * 1000 - 1); /* the renewal */
    assert_int_equal(ensign_close(f.c, ENSIGN_CLIENT, 100), ENSIGN_OK);
    pass(&f, 0);
    is_closed(&f, 0);
    destroy(&f);
}

/* RFC 9113, 6.8 */
static void a_closing_client_says_goaway(void **state)
{
    static const uint8_t goaway[17] = { 0, 0, 8, NGHTTP2_GOAWAY };
    const uint8_t *p;
    size_t len;
    fake_t f;
    (void)state;
    begin_at(&f, AT_CONNECTED);
    assert_int_equal(ensign_close(f.c, ENSIGN_CLIENT, 0), ENSIGN_OK);
    pass(&f, 0);
    assert_int_equal(todo(&f, RPC), ENSIGN_LINK_HANGUP);
    p = ensign_tx_buf(f.c, RPC, &len);
    assert_non_null(p);
    assert_int_equal(len, sizeof goaway);
    assert_memory_equal(p, goaway, sizeof goaway);
    is_closed(&f, 0);
    destroy(&f);
}

/* Its END waits to be pulled: nothing is left for a connection to do. */
static void a_handle_that_has_ended_wants_no_connection(void **state)
{
    ensign_call_t k;
    fake_t f;
    (void)state;
    begin_at(&f, AT_CONNECTED);
    k.id = call(&f, true);
    assert_int_equal(ensign_cancel(f.c, k.id), ENSIGN_OK);
    pass(&f, 0);
    down(&f, RPC, ECONNRESET);
    pass(&f, 100000);
    assert_int_equal(todo(&f, RPC), ENSIGN_LINK_IDLE);
    assert_int_equal(pull(&f), 2); /* DISCONNECTED and END */
    destroy(&f);
}

static void no_memory_is_not_the_peers_fault(void **state)
{
    fake_t f;
    (void)state;
    begin_at(&f, AT_CONNECTED);
    call(&f, true);
    pass(&f, 0);
    take(&f, RPC);
    f.c->conn->h2.starved = true;
    settings(&f);
    assert_int_equal(todo(&f, RPC), ENSIGN_LINK_HANGUP);
    assert_int_equal(f.c->links[RPC].fault.code, ENSIGN_E_MEMORY);
    assert_non_null(strstr(f.c->links[RPC].fault.text, "memory_limit"));
    destroy(&f);
}

static void forgetting_the_last_handle_closes_too(void **state)
{
    uint32_t k;
    fake_t f;
    (void)state;
    begin_at(&f, AT_WAIT);
    k = call(&f, true);
    assert_int_equal(ensign_close(f.c, ENSIGN_CLIENT, ENSIGN_FOREVER), ENSIGN_OK);
    pass(&f, 0);
    assert_int_equal(ensign_forget(f.c, k), ENSIGN_OK);
    assert_int_equal(ensign_timeout(f.c, f.now), 0);
    pass(&f, 0);
    is_closed(&f, 0);
    destroy(&f);
}

static void destroy_in_each_state(void **state)
{
    (void)state;
    for (int place = 0; place < PLACES; place++) {
        fake_t f;
        begin_at(&f, (place_t)place);
        assert_int_not_equal(call(&f, true), 0);
        assert_int_not_equal(ensign_status(f.c, NULL).id, 0);
        if (place & 1) pass(&f, 0);
        destroy(&f);
    }
    ensign_destroy(NULL);
}

/* ------------------------------------------------------------------ failing for good */
static void failed_comes_behind_all_others_and_closed_behind_it(void **state)
{
    fake_t f;
    uint32_t k;
    (void)state;
    prepare(&f);
    f.d.give_up_after_ms = 5000;
    f.d.backoff_min_ms = f.d.backoff_max_ms = 100;
    create(&f);
    k = call(&f, true);
    for (int i = 0; i < 1000 && !f.c->failed; i++) {
        pass(&f, 100);
        if (todo(&f, RPC) == ENSIGN_LINK_DIAL) down(&f, RPC, ECONNREFUSED);
    }
    assert_in_range(f.now - 1000, 5000, 5200);
    assert_int_equal(pull(&f), 3);
    assert_int_equal(f.seen[0].type, ENSIGN_NOTICE_DISCONNECTED);
    assert_int_equal(f.seen[1].type, ENSIGN_NOTICE_END);
    assert_int_equal(f.seen[1].handle, k);
    assert_int_equal(f.seen[1].as.end.status, ENSIGN_GRPC_UNAVAILABLE);
    assert_int_equal(f.seen[2].type, ENSIGN_NOTICE_FAILED);
    assert_int_equal(f.codes[2], ENSIGN_E_CONNECT);
    assert_int_equal(ensign_close(f.c, ENSIGN_CLIENT, 1000), ENSIGN_OK);
    pass(&f, 0);
    is_closed(&f, 0);
    destroy(&f);
}

static void a_connection_that_nobody_uses_is_no_failure(void **state)
{
    fake_t f;
    (void)state;
    prepare(&f);
    f.d.give_up_after_ms = 5000;
    create(&f);
    pass(&f, SOON);
    down(&f, RPC, ECONNREFUSED);
    pass(&f, 100);
    connect_it(&f);
    pass(&f, 100000); /* well, though no call has proved it */
    assert_false(f.c->failed);
    down(&f, RPC, ECONNRESET); /* nobody wants another one */
    pull(&f);
    assert_int_equal(f.seen[f.n - 1].type, ENSIGN_NOTICE_DISCONNECTED);
    assert_int_equal(f.seen[f.n - 1].as.disconnected.retry_in_ms, ENSIGN_FOREVER);
    pass(&f, 100000);
    assert_false(f.c->failed);
    assert_int_equal(todo(&f, RPC), ENSIGN_LINK_IDLE);
    assert_int_equal(ensign_timeout(f.c, f.now), -1);
    assert_int_not_equal(call(&f, true), 0);
    destroy(&f);
}

static void an_auth_service_that_only_answers_500_is_given_up(void **state)
{
    static const char text[] = "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";
    fake_t f;
    (void)state;
    prepare(&f);
    with_key(&f, "http://127.0.0.1:8088");
    f.d.give_up_after_ms = 5000;
    f.d.backoff_max_ms = 200;
    create(&f);
    connect_it(&f);
    assert_int_not_equal(call(&f, true), 0);
    for (int i = 0; i < 1000 && !f.c->failed; i++) {
        pass(&f, 10);
        if (todo(&f, AUTH) == ENSIGN_LINK_DIAL) up(&f, AUTH);
        if (todo(&f, AUTH) == ENSIGN_LINK_RUN) give(&f, AUTH, text, sizeof text - 1);
        if (todo(&f, AUTH) == ENSIGN_LINK_HANGUP) down(&f, AUTH, 0);
    }
    assert_in_range(f.now - 1000, 5000, 5300);
    pull(&f);
    assert_int_equal(f.seen[f.n - 1].type, ENSIGN_NOTICE_FAILED);
    assert_int_equal(f.codes[f.n - 1], ENSIGN_E_AUTH);
    destroy(&f);
}

/* ------------------------------------------------------------------ time, work */
static void durations_are_not_doubled_by_a_loop_that_sleeps(void **state)
{
    fake_t f;
    (void)state;
    prepare(&f);
    f.d.connect_timeout_ms = 3000;
    f.d.backoff_min_ms = f.d.backoff_max_ms = 4000;
    create(&f);
    pass(&f, 2999);
    assert_int_equal(todo(&f, RPC), ENSIGN_LINK_DIAL);
    pass(&f, 1);
    assert_int_equal(todo(&f, RPC), ENSIGN_LINK_HANGUP);
    down(&f, RPC, 0);
    pull(&f);
    assert_int_equal(f.seen[0].type, ENSIGN_NOTICE_DISCONNECTED);
    assert_int_equal(f.codes[0], ENSIGN_E_STALLED);
    assert_in_range(f.seen[0].as.disconnected.retry_in_ms, 1, 4000);
    pass(&f, f.seen[0].as.disconnected.retry_in_ms - 1);
    assert_int_equal(todo(&f, RPC), ENSIGN_LINK_IDLE);
    pass(&f, 1);
    assert_int_equal(todo(&f, RPC), ENSIGN_LINK_DIAL);
    destroy(&f);
}

static void the_connect_timeout_ends_with_settings(void **state)
{
    fake_t f;
    (void)state;
    prepare(&f);
    f.d.connect_timeout_ms = 3000;
    create(&f);
    pass(&f, 2000);
    up(&f, RPC);
    take(&f, RPC);
    pass(&f, 999);
    assert_int_equal(todo(&f, RPC), ENSIGN_LINK_RUN);
    pass(&f, 1);
    assert_int_equal(todo(&f, RPC), ENSIGN_LINK_HANGUP); /* from the dial, not from the connection */
    down(&f, RPC, 0);
    pass(&f, 100);
    connect_it(&f);
    pass(&f, 100000);
    assert_int_equal(todo(&f, RPC), ENSIGN_LINK_RUN);
    destroy(&f);
}

static void wake_is_for_calls_outside_of_a_step(void **state)
{
    ensign_call_desc_t d;
    ensi_handle_t *h;
    fake_t f;
    (void)state;
    prepare(&f);
    f.d.endpoint = "a.example:443";
    create(&f);
    pass(&f, SOON);
    memset(&d, 0, sizeof d);
    d.method = "/a/b";
    d.deadline_ms = 500;
    d.wait_for_ready = true;
    assert_int_not_equal(ensign_call_open(f.c, &d).id, 0);
    assert_int_equal(f.wakes, 1);
    pass(&f, 1000); /* the deadline ends the call inside of a step */
    assert_int_equal(f.wakes, 1);
    assert_int_equal(ensign_resolved(f.c, RPC, attempt(&f, RPC), NULL, 0, -2), ENSIGN_OK);
    assert_int_equal(f.wakes, 1);
    assert_int_equal(pull(&f), 2);
    h = ensi_handle_find(&f.c->handles, ensign_call_open(f.c, &d).id);
    assert_int_equal(f.wakes, 2);
    pass(&f, SOON);
    ensi_timer_start(&h->close_timer, 0); /* as if the pump had started it */
    ensi_client_schedule(f.c, h);
    ensi_client_settle(f.c); /* it ends the call in the step that starts it */
    assert_int_equal(f.wakes, 2);
    assert_false(f.c->env.work);
    assert_int_equal(pull(&f), 1);
    destroy(&f);
}

static void losses_and_connections_are_told_once_in_their_order(void **state)
{
    fake_t f;
    (void)state;
    begin(&f);
    assert_int_not_equal(call(&f, true), 0);
    connect_it(&f);
    down(&f, RPC, ECONNRESET);
    assert_int_equal(pull(&f), 2); /* a lost connection takes its CONNECTED along; the call has ended */
    for (size_t i = 0; i < 2; i++) assert_int_not_equal(f.seen[i].type, ENSIGN_NOTICE_CONNECTED);
    assert_int_not_equal(call(&f, true), 0);
    pass(&f, 1000);
    down(&f, RPC, ECONNREFUSED);
    pass(&f, 1000);
    down(&f, RPC, ECONNRESET);
    pass(&f, 1000);
    connect_it(&f);
    assert_int_equal(pull(&f), 2); /* the call was sent: what it waited for is over, and not told any more */
    assert_int_equal(f.seen[0].type, ENSIGN_NOTICE_DISCONNECTED);
    assert_int_equal(f.codes[0], ENSIGN_E_CONNECT);
    assert_int_equal(f.seen[1].type, ENSIGN_NOTICE_CONNECTED);
    destroy(&f);
}

/* ------------------------------------------------------------------ openers that fail */
/* A chain of calls may be looked at at its end: the handle {0} keeps the error of the opener that gave it. */
static void a_handle_that_was_not_opened_keeps_its_reason(void **state)
{
    ensign_publisher_desc_t pd;
    ensign_event_t e;
    ensign_publisher_t p;
    ensign_publisher_t none = { 0 };
    fake_t f;
    (void)state;
    begin(&f);
    memset(&pd, 0, sizeof pd);
    memset(&e, 0, sizeof e);
    e.data = ensign_str("x");
    assert_int_equal(ensign_publish(f.c, none, &e), ENSIGN_E_HANDLE); /* no opener has failed */
    assert_non_null(strstr(ensign_error(f.c)->text, "0 is not the id of a publisher"));
    pd.window_bytes = 1;
    p = ensign_publisher_open(f.c, &pd);
    assert_int_equal(p.id, 0);
    assert_int_equal(ensign_publish(f.c, p, &e), ENSIGN_E_ARGUMENT);
    assert_non_null(strstr(ensign_error(f.c)->text, "window_bytes is 1"));
    assert_int_equal(ensign_close(f.c, p.id, 0), ENSIGN_E_ARGUMENT);
    assert_non_null(strstr(ensign_error(f.c)->text, "window_bytes is 1"));
    assert_int_equal(ensign_topic_create(f.c, "1", NULL, NULL).id, 0);
    assert_int_equal(ensign_hold(f.c, 0, true), ENSIGN_E_ARGUMENT);
    assert_non_null(strstr(ensign_error(f.c)->text, "topic"));
    /* another error: */
    assert_int_equal(ensign_publish(f.c, (ensign_publisher_t){ 77 }, &e), ENSIGN_E_HANDLE);
    assert_int_equal(ensign_publish(f.c, none, &e), ENSIGN_E_HANDLE);
    pd.window_bytes = 0;
    assert_int_not_equal(ensign_publisher_open(f.c, &pd).id, 0);
    assert_int_equal(ensign_publish(f.c, none, &e), ENSIGN_E_HANDLE);
    assert_non_null(strstr(ensign_error(f.c)->text, "0 is not the id of a publisher"));
    destroy(&f);
}

/* ------------------------------------------------------------------ answers to links */
static void addresses_that_are_none_are_left_out(void **state)
{
    const char *list[ENSIGN_MAX_ADDRESSES + 4];
    char longest[ENSI_ADDRESS_BYTES + 1];
    ensign_link_t l;
    fake_t f;
    (void)state;
    memset(longest, '1', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    for (size_t i = 0; i < ENSI_COUNT(list); i++) list[i] = "10.0.0.1";
    list[0] = "";
    list[1] = NULL;
    list[2] = longest;
    prepare(&f);
    f.d.endpoint = "a.example:443";
    create(&f);
    pass(&f, SOON);
    assert_int_equal(ensign_resolved(f.c, ENSIGN_MAX_LINKS, 1, list, 1, 0), ENSIGN_E_ARGUMENT);
    assert_int_equal(ensign_resolved(f.c, -1, 1, list, 1, 0), ENSIGN_E_ARGUMENT);
    assert_int_equal(ensign_resolved(f.c, RPC, attempt(&f, RPC) + 1, list, 1, 0), ENSIGN_OK);
    assert_int_equal(ensign_link_up(f.c, RPC, attempt(&f, RPC), 0, f.now), ENSIGN_OK); /* too early */
    assert_int_equal(todo(&f, RPC), ENSIGN_LINK_RESOLVE);
    assert_int_equal(ensign_resolved(f.c, RPC, attempt(&f, RPC), list, ENSI_COUNT(list), 0), ENSIGN_OK);
    ensign_link(f.c, RPC, &l);
    assert_int_equal(l.todo, ENSIGN_LINK_DIAL);
    assert_int_equal(l.address_count, ENSIGN_MAX_ADDRESSES);
    for (size_t i = 0; i < l.address_count; i++) assert_string_equal(l.addresses[i], "10.0.0.1");
    assert_int_equal(ensign_resolved(f.c, RPC, l.attempt, list, 0, 0), ENSIGN_OK); /* twice */
    assert_int_equal(todo(&f, RPC), ENSIGN_LINK_DIAL);
    destroy(&f);
    for (size_t count = 0; count <= 3; count += 3) { /* none at all, and none that is one */
        prepare(&f);
        f.d.endpoint = "a.example:443";
        create(&f);
        pass(&f, SOON);
        assert_int_equal(ensign_resolved(f.c, RPC, attempt(&f, RPC), list, count, -3), ENSIGN_OK);
        assert_int_equal(todo(&f, RPC), ENSIGN_LINK_IDLE);
        pull(&f);
        assert_int_equal(f.codes[0], ENSIGN_E_RESOLVE);
        destroy(&f);
    }
}

static void more_bytes_than_there_are_is_an_error(void **state)
{
    ensign_link_t l;
    size_t cap, len;
    fake_t f;
    (void)state;
    begin(&f);
    assert_null(ensign_rx_buf(f.c, RPC, &cap));
    assert_int_equal(cap, 0);
    assert_null(ensign_tx_buf(f.c, RPC, &len));
    assert_null(ensign_rx_buf(f.c, 7, &cap));
    assert_int_equal(ensign_error(f.c)->code, ENSIGN_E_ARGUMENT);
    ensign_link(f.c, 7, &l);
    assert_int_equal(l.todo, ENSIGN_LINK_IDLE);
    pass(&f, SOON);
    up(&f, RPC);
    assert_non_null(ensign_rx_buf(f.c, RPC, &cap));
    assert_non_null(ensign_tx_buf(f.c, RPC, &len));
    assert_int_equal(ensign_rx_ack(f.c, RPC, cap + 1, f.now), ENSIGN_E_ARGUMENT);
    assert_int_equal(ensign_tx_ack(f.c, RPC, len + 1), ENSIGN_E_ARGUMENT);
    assert_int_equal(ensign_rx_ack(f.c, RPC, 0, f.now), ENSIGN_OK);
    assert_int_equal(ensign_tx_ack(f.c, RPC, 0), ENSIGN_OK);
    assert_int_equal(todo(&f, RPC), ENSIGN_LINK_RUN);
    down(&f, RPC, 0);
    assert_int_equal(ensign_rx_ack(f.c, RPC, 1, f.now), ENSIGN_OK); /* late: the connection is gone */
    destroy(&f);
}

/* ------------------------------------------------------------------ the pump */
/* SETTINGS and a stream's HEADERS: ":status 200", content-type application/grpc, by HPACK's static table. */
static void answer_headers(fake_t *f, uint32_t stream)
{
    static const uint8_t block[] = { 0x88, 0x0F, 0x10, 16, 'a', 'p', 'p', 'l', 'i', 'c', 'a',
                                     't',  'i',  'o',  'n', '/', 'g', 'r', 'p', 'c' };
    frame(f, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, stream, block, sizeof block);
}

/* ------------------------------------------------------------------ close, cancel, forget: by handle */
typedef enum { CALL, UNARY, PUBLISHER, SUBSCRIPTION, QUERY, REQUEST, WATCH, KINDS } kind_t;

static uint32_t open_kind(fake_t *f, kind_t kind)
{
    ensign_call_desc_t k;
    ensign_publisher_desc_t p;
    ensign_subscription_desc_t s;
    ensign_query_desc_t q;
    static const char *const names[KINDS] = { "call", "unary", "publisher", "subscription", "query",
                                              "request", "watch" };
    size_t at = strlen(row);
    uint32_t id = 0;
    snprintf(row + at, sizeof row - at, " %s", names[kind]);
    memset(&k, 0, sizeof k);
    memset(&p, 0, sizeof p);
    memset(&s, 0, sizeof s);
    memset(&q, 0, sizeof q);
    k.method = "/test.Service/Method";
    k.unary = kind == UNARY;
    k.wait_for_ready = true;
    p.topic = "topic";
    q.sql = "SELECT * FROM topic";
    switch (kind) {
    case CALL:
    case UNARY: id = ensign_call_open(f->c, &k).id; break;
    case PUBLISHER: id = ensign_publisher_open(f->c, &p).id; break;
    case SUBSCRIPTION: id = ensign_subscription_open(f->c, &s).id; break;
    case QUERY: id = ensign_query_open(f->c, &q).id; break;
    case REQUEST: id = ensign_topic_by_name(f->c, "topic", NULL).id; break;
    case WATCH: id = ensign_health(f->c, "", true, NULL).id; break;
    case KINDS: break;
    }
    assert_int_not_equal(id, 0);
    return id;
}

/* The one notice that is left of a handle: its last, with this code. */
static void last_notice(fake_t *f, uint32_t id, kind_t kind, int code)
{
    const ensign_notice_t *n = ensign_next_of(f->c, id);
    while (n && n->type == ENSIGN_NOTICE_WAITING) n = ensign_next_of(f->c, id); /* as the place has it */
    assert_non_null(n);
    assert_int_equal(n->type, kind == UNARY ? ENSIGN_NOTICE_REPLY : ENSIGN_NOTICE_END);
    assert_true(n->last);
    assert_int_equal(n->handle, id);
    assert_int_equal(n->error ? n->error->code : 0, code);
    if (kind == UNARY) assert_int_equal(n->as.reply.status, code ? ENSIGN_GRPC_CANCELLED : ENSIGN_GRPC_OK);
    else assert_int_equal(n->as.end.status, code ? ENSIGN_GRPC_CANCELLED : ENSIGN_GRPC_OK);
    assert_false(ensign_pending(f->c, id));
}

/* Dead as it is, the notice may still stand. */
static void is_dead(fake_t *f, uint32_t id)
{
    for (int pulled = 0; pulled < 2; pulled++) {
        assert_int_equal(ensign_close(f->c, id, 0), ENSIGN_E_HANDLE);
        assert_int_equal(ensign_error(f->c)->code, ENSIGN_E_HANDLE);
        assert_int_equal(ensign_cancel(f->c, id), ENSIGN_E_HANDLE);
        assert_int_equal(ensign_error(f->c)->code, ENSIGN_E_HANDLE);
        assert_null(ensign_next_of(f->c, id));
    }
    assert_int_equal(ensign_forget(f->c, id), ENSIGN_OK);
    assert_int_equal(ensign_forget(f->c, id), ENSIGN_OK);
}

/* Its last notice waits: closing it and cancelling it are fine, and change nothing. */
static void stays_ended(fake_t *f, uint32_t id)
{
    const ensi_handle_t *h = ensi_handle_find(&f->c->handles, id);
    ensign_error_t was;
    assert_non_null(h);
    assert_true(h->done);
    was = h->fault;
    assert_int_equal(ensign_close(f->c, id, 1000), ENSIGN_OK);
    assert_int_equal(ensign_cancel(f->c, id), ENSIGN_OK);
    assert_int_equal(h->fault.code, was.code);
    assert_string_equal(h->fault.text, was.text);
    assert_true(ensign_pending(f->c, id));
}

static void any_handle_can_be_cancelled_anywhere(void **state)
{
    (void)state;
    for (int place = 0; place < PLACES; place++) {
        for (int kind = 0; kind < KINDS; kind++) {
            fake_t f;
            uint32_t id, other;
            begin_at(&f, (place_t)place);
            other = open_kind(&f, CALL);
            id = open_kind(&f, (kind_t)kind);
            if (kind & 1) pass(&f, 0);
            assert_int_equal(ensign_cancel(f.c, id), ENSIGN_OK);
            stays_ended(&f, id);
            last_notice(&f, id, (kind_t)kind, ENSIGN_E_CANCELLED);
            is_dead(&f, id);
            pass(&f, 0);
            assert_true(ensi_handle_find(&f.c->handles, other) != NULL); /* the others are left alone */
            assert_int_equal(f.c->handles.busy, 1);
            assert_false(f.c->closing);
            destroy(&f);
        }
    }
}

/* In good order where nothing is to be waited for, else by the time that was given. */
static void close_one(place_t place, kind_t kind, bool sent)
{
    bool waits = kind == CALL || kind == UNARY || kind == REQUEST;
    fake_t f;
    uint32_t id;
    begin_at(&f, place);
    id = open_kind(&f, kind);
    if (sent) pass(&f, 0);
    assert_int_equal(ensign_close(f.c, id, 20), ENSIGN_OK);
    pass(&f, 19);
    if (waits) {
        assert_int_equal(f.c->handles.busy, 1);
        assert_int_equal(ensign_close(f.c, id, 10), ENSIGN_OK); /* again: the time begins anew */
        pass(&f, 9);
        assert_int_equal(f.c->handles.busy, 1);
        pass(&f, 1);
    }
    stays_ended(&f, id);
    if (waits) assert_non_null(strstr(ensi_handle_find(&f.c->handles, id)->fault.text, "ensign_close"));
    last_notice(&f, id, kind, waits ? ENSIGN_E_CANCELLED : 0);
    is_dead(&f, id);
    assert_false(f.c->closing);
    destroy(&f);
}

static void any_handle_can_be_closed_anywhere(void **state)
{
    (void)state;
    for (int place = 0; place < PLACES; place++)
        for (int kind = 0; kind < KINDS; kind++)
            for (int sent = 0; sent < 2; sent++) close_one((place_t)place, (kind_t)kind, sent != 0);
}

static void what_is_forgotten_gives_no_notice(void **state)
{
    (void)state;
    for (int place = 0; place < PLACES; place++) {
        for (int kind = 0; kind < KINDS; kind++) {
            fake_t f;
            uint32_t id;
            begin_at(&f, (place_t)place);
            id = open_kind(&f, (kind_t)kind);
            if (kind & 1) pass(&f, 0);
            assert_int_equal(ensign_forget(f.c, id), ENSIGN_OK);
            is_dead(&f, id);
            assert_int_equal(f.c->handles.alive, 0);
            pass(&f, 60000);
            pull(&f);
            for (size_t i = 0; i < f.n; i++) assert_int_equal(f.seen[i].handle, ENSIGN_CLIENT);
            id = open_kind(&f, (kind_t)kind); /* one whose last notice stands: it may be forgotten, too */
            assert_int_equal(ensign_cancel(f.c, id), ENSIGN_OK);
            assert_non_null(ensign_next_of(f.c, id));
            assert_int_equal(ensign_forget(f.c, id), ENSIGN_OK);
            assert_null(f.c->handles.dying);
            pull(&f);
            destroy(&f);
        }
    }
}

static void an_unknown_handle_is_none(void **state)
{
    fake_t f;
    uint32_t id;
    (void)state;
    begin(&f);
    id = call(&f, true);
    for (uint32_t strange = 0; strange < 3; strange++) {
        uint32_t none = strange == 0 ? 0 : strange == 1 ? id + 1 : id + 0x10000;
        is_dead(&f, none);
        assert_false(ensign_pending(f.c, none) && none != 0);
        assert_int_equal(ensign_hold(f.c, none, true), ENSIGN_E_HANDLE);
    }
    assert_int_equal(f.c->handles.busy, 1);
    assert_false(f.c->closing);
    destroy(&f);
}

/* All kinds at once, by ENSIGN_CLIENT. */
static void open_all(fake_t *f, uint32_t id[KINDS])
{
    for (int kind = 0; kind < KINDS; kind++) id[kind] = open_kind(f, (kind_t)kind);
}

static void cancelling_the_client_ends_all_and_closes_it(void **state)
{
    (void)state;
    for (int place = 0; place < PLACES; place++) {
        uint32_t id[KINDS];
        fake_t f;
        begin_at(&f, (place_t)place);
        open_all(&f, id);
        if (place & 1) pass(&f, 0);
        assert_int_equal(ensign_cancel(f.c, ENSIGN_CLIENT), ENSIGN_OK);
        assert_int_equal(ensign_cancel(f.c, ENSIGN_CLIENT), ENSIGN_OK);
        assert_int_equal(ensign_close(f.c, ENSIGN_CLIENT, 5), ENSIGN_OK);
        assert_int_equal(f.c->handles.busy, 0);
        for (int kind = 0; kind < KINDS; kind++) last_notice(&f, id[kind], (kind_t)kind, ENSIGN_E_CANCELLED);
        pass(&f, 0);
        is_closed(&f, 0);
        assert_int_equal(ensign_close(f.c, ENSIGN_CLIENT, 0), ENSIGN_OK); /* of CLOSED there is one */
        assert_int_equal(ensign_cancel(f.c, ENSIGN_CLIENT), ENSIGN_OK);
        pass(&f, 1000);
        assert_int_equal(pull(&f), 0);
        destroy(&f);
    }
}

static void closing_the_client_closes_all(void **state)
{
    (void)state;
    for (int place = 0; place < PLACES; place++) {
        uint32_t id[KINDS];
        fake_t f;
        begin_at(&f, (place_t)place);
        open_all(&f, id);
        assert_int_equal(ensign_close(f.c, ENSIGN_CLIENT, 20), ENSIGN_OK);
        pass(&f, 19);
        assert_int_equal(f.c->handles.busy, 3); /* that wait for an answer */
        assert_false(f.c->closed);
        pass(&f, 1);
        assert_true(f.c->closed);
        for (int kind = 0; kind < KINDS; kind++) {
            bool waits = kind == CALL || kind == UNARY || kind == REQUEST;
            last_notice(&f, id[kind], (kind_t)kind, waits ? ENSIGN_E_CANCELLED : 0);
        }
        is_closed(&f, 0);
        destroy(&f);
    }
}

/* Nothing comes any more, not even CLOSED; only ensign_destroy is left to do, but nothing else does harm. */
static void a_forgotten_client_is_silent(void **state)
{
    (void)state;
    for (int place = 0; place < PLACES; place++) {
        uint32_t id[KINDS];
        fake_t f;
        begin_at(&f, (place_t)place);
        open_all(&f, id);
        if (place & 1) pass(&f, 0);
        assert_int_equal(ensign_forget(f.c, ENSIGN_CLIENT), ENSIGN_OK);
        assert_int_equal(f.c->handles.alive, 0);
        assert_int_equal(pull(&f), 0);
        assert_int_equal(ensign_forget(f.c, ENSIGN_CLIENT), ENSIGN_OK);
        for (int kind = 0; kind < KINDS; kind++) is_dead(&f, id[kind]);
        answer_hangup(&f);
        pass(&f, 100000);
        assert_int_equal(pull(&f), 0);
        assert_int_equal(todo(&f, RPC), ENSIGN_LINK_IDLE);
        assert_int_equal(ensign_timeout(f.c, f.now), -1);
        assert_int_equal(call(&f, true), 0);
        assert_int_equal(ensign_error(f.c)->code, ENSIGN_E_STATE);
        destroy(&f);
    }
}

/* A duration begins with the step behind the call that gives it, and not with the one behind that. */
static void a_duration_begins_with_the_next_step(void **state)
{
    ensign_call_desc_t d;
    fake_t f;
    uint32_t id;
    (void)state;
    for (int close = 0; close < 2; close++) {
        begin(&f);
        memset(&d, 0, sizeof d);
        d.method = "/a/b";
        d.wait_for_ready = true;
        d.deadline_ms = close ? 0 : 100;
        id = ensign_call_open(f.c, &d).id;
        if (close) assert_int_equal(ensign_close(f.c, id, 100), ENSIGN_OK);
        assert_int_equal(ensign_tick(f.c, 5000), ENSIGN_OK);
        assert_true(ensi_handle_find(&f.c->handles, id)->due_ms == 5100);
        assert_int_equal(ensign_tick(f.c, 5099), ENSIGN_OK);
        assert_false(ensign_pending(f.c, id));
        assert_int_equal(ensign_tick(f.c, 5100), ENSIGN_OK);
        assert_true(ensign_pending(f.c, id));
        destroy(&f);
    }
}

/* ------------------------------------------------------------------ texts and names */
static void lazily(fake_t *f, int code, const char *word)
{
    assert_int_equal(f->c->env.error.code, code);
    assert_string_equal(f->c->env.error.text, ""); /* not before it is asked for */
    assert_int_equal(ensign_error(f->c)->code, code);
    if (!strstr(ensign_error(f->c)->text, word)) fail_msg("no \"%s\" in: %s", word, ensign_error(f->c)->text);
    assert_int_equal(ensign_error(f->c)->native, 0);
}

static void results_above_0_have_a_text_when_it_is_asked_for(void **state)
{
    static uint8_t bytes[1000];
    ensign_call_desc_t d;
    ensign_publisher_desc_t p;
    ensign_event_t e;
    ensign_publisher_t pub;
    ensign_call_t k;
    fake_t f;
    (void)state;
    begin(&f);
    memset(&d, 0, sizeof d);
    d.method = "/a/b";
    d.send_buffer_bytes = 1024;
    d.wait_for_ready = true;
    k = ensign_call_open(f.c, &d);
    assert_int_equal(ensign_call_commit(f.c, k, 1, 0), ENSIGN_E_STATE); /* an error before it, with a text */
    assert_int_equal(ensign_call_send(f.c, k, ensign_bytes(bytes, sizeof bytes), 0), ENSIGN_OK);
    assert_non_null(strstr(ensign_error(f.c)->text, "commit")); /* OK leaves it alone */
    assert_int_equal(ensign_call_send(f.c, k, ensign_bytes(bytes, sizeof bytes), 0), ENSIGN_AGAIN);
    lazily(&f, ENSIGN_AGAIN, "send_buffer_bytes");
    assert_non_null(strstr(ensign_error(f.c)->text, "ROOM"));
    assert_int_equal(ensign_cancel(f.c, k.id), ENSIGN_OK);
    assert_int_equal(ensign_call_send(f.c, k, ensign_bytes(bytes, 1), 0), ENSIGN_ENDED);
    lazily(&f, ENSIGN_ENDED, "it has ended; ");
    assert_int_equal(ensign_call_half_close(f.c, k), ENSIGN_ENDED);
    assert_string_equal(f.c->env.error.text, "");
    assert_int_equal(ensign_close(f.c, 0, 0), ENSIGN_E_HANDLE); /* and an error after it has its own */
    assert_non_null(strstr(ensign_error(f.c)->text, "handle: 0"));

    memset(&p, 0, sizeof p);
    memset(&e, 0, sizeof e);
    p.topic = "topic";
    p.buffer_bytes = 1024;
    pub = ensign_publisher_open(f.c, &p);
    e.data = ensign_bytes(bytes, 900);
    assert_int_equal(ensign_publish(f.c, pub, &e), ENSIGN_OK);
    assert_int_equal(ensign_publish(f.c, pub, &e), ENSIGN_AGAIN);
    lazily(&f, ENSIGN_AGAIN, "ROOM");
    assert_int_equal(ensign_cancel(f.c, pub.id), ENSIGN_OK);
    assert_int_equal(ensign_publish(f.c, pub, &e), ENSIGN_ENDED);
    lazily(&f, ENSIGN_ENDED, "it has ended; ");
    assert_int_equal(ensign_publisher_drain(f.c, pub, 0), ENSIGN_ENDED);
    lazily(&f, ENSIGN_ENDED, "it has ended; ");
    destroy(&f);
}

static void every_notice_has_a_name(void **state)
{
    static const char *const names[] = {
        "CONNECTED", "DISCONNECTED", "GOAWAY", "FAILED", "CLOSED", "WAITING", "OPEN", "ROOM", "ACK", "NACK",
        "DRAINED", "EVENT", "GAP", "TOPIC", "TOPIC_STATE", "EXISTS", "PROJECT", "TOPIC_INFO", "TYPE_INFO", "PLAN",
        "STATUS", "HEALTH", "REPLY", "HEADERS", "MESSAGE", "END"
    };
    char text[60];
    (void)state;
    assert_int_equal(ENSIGN_NOTICE_END, ENSI_COUNT(names)); /* from 1 on, and none is left out */
    for (size_t i = 0; i < ENSI_COUNT(names); i++) {
        snprintf(text, sizeof text, "ENSIGN_NOTICE_%s", names[i]);
        assert_string_equal(ensign_notice_name((ensign_notice_type_t)(i + 1)), text);
    }
    assert_string_equal(ensign_notice_name((ensign_notice_type_t)0), "?");
    assert_string_equal(ensign_notice_name((ensign_notice_type_t)(ENSI_COUNT(names) + 1)), "?");
}

static bool open_next(const fake_t *f, uint32_t id, int which)
{
    ensign_slice_t name;
    ensign_ulid_t topic;
    size_t at = 0;
    return ensign_open_next(f->c, id, which, &at, &name, &topic);
}

/* A publisher's stream becomes ready: its reply with one topic, "topic". */
static void answer_ready(fake_t *f, uint32_t stream)
{
    static const uint8_t reply[] = { 0, 0, 0, 0, 29,            /* gRPC's prefix */
                                     0x1A, 27, 0x1A, 25,        /* ready, topics: */
                                     0x0A, 5, 't', 'o', 'p', 'i', 'c',
                                     0x12, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };
    assert_int_equal(sizeof reply, 5 + 29);
    frame(f, NGHTTP2_DATA, 0, stream, reply, sizeof reply);
}

static void topics_can_be_read_while_open_stands(void **state)
{
    const ensign_notice_t *n;
    ensign_publisher_t pub;
    ensign_slice_t name;
    ensign_ulid_t topic;
    uint32_t id, other;
    size_t at = 0;
    fake_t f;
    (void)state;
    begin(&f);
    id = open_kind(&f, PUBLISHER);
    connect_it(&f);
    pass(&f, 0);
    take(&f, RPC);
    other = open_kind(&f, CALL);
    answer_headers(&f, 1);
    assert_false(open_next(&f, id, ENSIGN_OPEN_TOPICS));
    answer_ready(&f, 1);
    assert_false(open_next(&f, id, ENSIGN_OPEN_TOPICS)); /* it was not pulled yet */
    assert_false(open_next(&f, id, ENSIGN_OPEN_MISSING));
    n = ensign_next_of(f.c, id);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_OPEN);
    assert_int_equal(n->as.open.times, 1);
    assert_int_equal(n->as.open.topics, 1);
    assert_int_equal(n->as.open.missing, 0);
    assert_true(ensign_open_next(f.c, id, ENSIGN_OPEN_TOPICS, &at, &name, &topic));
    assert_true(ensi_slice_is(name, "topic"));
    assert_int_equal(topic.b[15], 16);
    assert_false(ensign_open_next(f.c, id, ENSIGN_OPEN_TOPICS, &at, &name, &topic));
    assert_false(open_next(&f, id, ENSIGN_OPEN_MISSING));
    assert_false(open_next(&f, id, 0)); /* which: none */
    assert_false(open_next(&f, id, 3));
    assert_false(open_next(&f, other, ENSIGN_OPEN_TOPICS)); /* whose: none */
    assert_false(open_next(&f, 0, ENSIGN_OPEN_TOPICS));
    assert_false(open_next(&f, ENSIGN_CLIENT, ENSIGN_OPEN_TOPICS));
    pub.id = id;
    assert_int_equal(ensign_publisher_drain(f.c, pub, 1000), ENSIGN_OK);
    pass(&f, 0);
    assert_true(open_next(&f, id, ENSIGN_OPEN_TOPICS)); /* it still stands, */
    n = ensign_next_of(f.c, id);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_DRAINED);
    assert_false(open_next(&f, id, ENSIGN_OPEN_TOPICS)); /* now DRAINED does, though the stream is open, */
    assert_false(open_next(&f, id, ENSIGN_OPEN_MISSING));
    assert_int_equal(ensign_cancel(f.c, id), ENSIGN_OK);
    assert_non_null(ensign_next_of(f.c, id));
    assert_false(open_next(&f, id, ENSIGN_OPEN_TOPICS)); /* and now END */
    assert_false(open_next(&f, id, ENSIGN_OPEN_MISSING));
    pull(&f);
    assert_false(open_next(&f, id, ENSIGN_OPEN_TOPICS));
    destroy(&f);
}

/* ------------------------------------------------------------------ memory, and what a peer may send */
static void no_memory_for_a_reply_does_not_hang(void **state)
{
    static const uint8_t head[] = { 0, 0, 8, 0, 0, 1, 2, 3 }; /* 512 KiB to come */
    ensign_publisher_desc_t p;
    fake_t f;
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        begin(&f);
        memset(&p, 0, sizeof p);
        if (kind == 0) {
            p.topic = "topic";
            assert_int_not_equal(ensign_publisher_open(f.c, &p).id, 0);
        } else {
            assert_int_not_equal(call(&f, true), 0);
        }
        connect_it(&f);
        pass(&f, 0);
        take(&f, RPC);
        answer_headers(&f, 1);
        f.refuse_over = 300000;
        frame(&f, NGHTTP2_DATA, 0, 1, head, sizeof head); /* here the pump ran for ever */
        take(&f, RPC);
        f.refuse_over = 0;
        pass(&f, 1000);
        destroy(&f);
    }
}

/* A stream that cannot be opened for want of memory is tried again after a backoff, not in every step. */
static void no_memory_for_a_stream_does_not_spin(void **state)
{
    ensign_publisher_desc_t p;
    ensign_subscription_desc_t s;
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        fake_t f;
        begin(&f);
        f.c->open_timeout_ms = ENSIGN_FOREVER; /* the server is mute */
        memset(&p, 0, sizeof p);
        memset(&s, 0, sizeof s);
        if (kind == 0) assert_int_not_equal(ensign_publisher_open(f.c, &p).id, 0);
        else assert_int_not_equal(ensign_subscription_open(f.c, &s).id, 0);
        pass(&f, SOON);
        up(&f, RPC);
        take(&f, RPC);
        f.refuse_over = 1;
        settings(&f);
        take(&f, RPC);
        pass(&f, 60000);
        assert_int_equal(f.c->conn->h2.open, 0);
        f.refuse_over = 0;
        pass(&f, 60000);
        assert_int_equal(f.c->conn->h2.open, 1);
        destroy(&f);
    }
}

/* What makes nghttp2 hold most: answers to a flood that the peer does not read, and one enormous header. */
static void flood(fake_t *f, uint8_t type, size_t len, size_t queued)
{
    static const uint8_t body[8];
    while (todo(f, RPC) == ENSIGN_LINK_RUN &&
           nghttp2_session_get_outbound_queue_size(f->c->conn->h2.session) < queued)
        frame(f, type, 0, 0, body, len);
}

/* In Huffman codes (RFC 7541, 5.2), for which nghttp2 takes two bytes for each announced one. Eight times
 * the code of 'a' is five bytes. */
static void letters(uint8_t *out, size_t len)
{
    static const uint8_t eight[] = { 0x18, 0xC6, 0x31, 0x8C, 0x63 };
    assert_int_equal(len % sizeof eight, 0);
    for (size_t i = 0; i < len; i += sizeof eight) memcpy(out + i, eight, sizeof eight);
}

static void enormous_header(fake_t *f)
{
    static const uint8_t name[] = { 0x00, 0xFF, 0xE1, 0xD3, 0x03 }; /* a new name, of 60,000 bytes */
    static uint8_t part[15000];
    uint8_t first[sizeof name + 1000];
    letters(part, sizeof part);
    letters(first + sizeof name, 1000);
    memcpy(first, name, sizeof name);
    frame(f, NGHTTP2_HEADERS, 0, 1, first, sizeof first);
    if (todo(f, RPC) != ENSIGN_LINK_RUN) return;
    for (int i = 0; i < 3; i++) frame(f, NGHTTP2_CONTINUATION, 0, 1, part, sizeof part);
    frame(f, NGHTTP2_CONTINUATION, 0, 1, part, 14000);
    frame(f, NGHTTP2_CONTINUATION, 0, 1, name + 1, 4); /* and as long a value */
    for (int i = 0; i < 3; i++) frame(f, NGHTTP2_CONTINUATION, 0, 1, part, sizeof part);
}

/* The endpoint is the auth service's: one byte of its answer is enough. */
static void an_answer_of_http_1_is_told(void **state)
{
    static const char answer[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    fake_t f;
    (void)state;
    for (size_t len = 1; len < sizeof answer; len += sizeof answer - 2) {
        begin(&f);
        call(&f, false);
        pass(&f, SOON);
        up(&f, RPC);
        take(&f, RPC);
        give(&f, RPC, answer, len);
        assert_int_equal(todo(&f, RPC), ENSIGN_LINK_HANGUP);
        assert_int_equal(f.c->links[RPC].fault.code, ENSIGN_E_PROTOCOL);
        assert_non_null(strstr(f.c->links[RPC].fault.text, "answers in HTTP/1"));
        assert_non_null(strstr(f.c->links[RPC].fault.text, "endpoint must be the host and port of gRPC"));
        destroy(&f);
    }
    begin(&f);
    call(&f, false);
    connect_it(&f);
    give(&f, RPC, "H", 1); /* behind SETTINGS it is a frame's first byte, and nghttp2's to judge */
    assert_int_equal(todo(&f, RPC), ENSIGN_LINK_RUN);
    destroy(&f);
}

/* It is not the server that is missing. */
static void no_descriptor_left_is_told(void **state)
{
    static const struct { int native; const char *advice; } rows[] = {
        { EMFILE, "raise the limit of open ones" }, { ENFILE, "raise the limit of open ones" },
        { ECONNREFUSED, "is the server there" },
    };
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(rows); i++) {
        fake_t f;
        begin(&f);
        call(&f, false);
        pass(&f, SOON);
        down(&f, RPC, rows[i].native);
        assert_int_equal(f.c->links[RPC].fault.code, ENSIGN_E_CONNECT);
        assert_int_equal(f.c->links[RPC].fault.native, rows[i].native);
        assert_non_null(strstr(f.c->links[RPC].fault.text, rows[i].advice));
        destroy(&f);
    }
}

typedef enum { RESOLVING, NO_ADDRESS, DIALING, SHAKING, RUNNING } end_t;

/* Brings a link to this point and ends it there. */
static void end_link(fake_t *f, int link, end_t end, int native)
{
    if (end == NO_ADDRESS) {
        assert_int_equal(ensign_resolved(f->c, link, attempt(f, link), NULL, 0, native), ENSIGN_OK);
        return;
    }
    if (end == SHAKING || end == RUNNING) up(f, link);
    down(f, link, native);
}

/* A native code of 0 tells nothing, and no text shows it. The likely cause stands first. */
static void the_end_of_a_connection_is_told(void **state)
{
    static const struct { int link; end_t end; int native; const char *text; } rows[] = {
        { RPC, RESOLVING, 0, "rpc: the host name nowhere.example was not resolved: no reason was given; "
                             "is the name right, and does the resolver answer?" },
        { RPC, RESOLVING, EIO, "was not resolved: Input/output error (5); is the name right" },
        { RPC, NO_ADDRESS, 0, "rpc: the host name nowhere.example has no address; is it spelled right?" },
        { RPC, NO_ADDRESS, -2, "nowhere.example has no address (resolver's code -2); is it spelled" },
        { RPC, DIALING, 0, "rpc: cannot connect to 127.0.0.1:443: closed by the peer; is the server there" },
        { RPC, DIALING, ECONNREFUSED, "127.0.0.1:443: Connection refused (111); is the server there" },
        { RPC, SHAKING, 0,
          "rpc: the connection to 127.0.0.1:443 is gone: closed by the peer, in the TLS handshake; does it "
          "speak TLS (else tls.off, ENSIGN_INSECURE), or want a certificate (tls.cert_file)?" },
        { RPC, SHAKING, ECONNRESET,
          "is gone: Connection reset by peer (104), in the TLS handshake; does it speak TLS (else tls.off" },
        { AUTH, SHAKING, 0,
          "auth: the connection to 127.0.0.1:444 is gone: closed by the peer, in the TLS handshake; does it "
          "speak TLS (else http:// in auth_url), or want a certificate?" },
        { RPC, RUNNING, 0,
          "rpc: the connection to 127.0.0.1:443 is gone: closed by the peer, before it said a word; does it "
          "want TLS (unset tls.off), or is this another service's port?" },
    };
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(rows); i++) {
        const ensign_error_t *fault;
        fake_t f;
        snprintf(row, sizeof row, "%.70s", rows[i].text);
        prepare(&f);
        if (rows[i].end == RESOLVING || rows[i].end == NO_ADDRESS)
            f.d.endpoint = "nowhere.example:443";
        if (rows[i].link == AUTH) with_key(&f, "https://127.0.0.1:444");
        f.d.tls.off = rows[i].end != SHAKING || rows[i].link == AUTH;
        f.d.tls.insecure_skip_verify = f.d.auth_tls.insecure_skip_verify = true; /* no trust store is read */
        create(&f);
        call(&f, false);
        pass(&f, SOON);
        fault = &f.c->links[rows[i].link].fault;
        end_link(&f, rows[i].link, rows[i].end, rows[i].native);
        if (!strstr(fault->text, rows[i].text)) fail_msg("the text is: %s", fault->text);
        assert_int_equal(fault->native, rows[i].native);
        destroy(&f);
    }
}

/* The limit is for what a peer sends. nghttp2's own tables are as large as they must be. */
static void the_header_limit_is_for_the_peer_only(void **state)
{
    enum { CALLS = 7000 };
    fake_t f;
    (void)state;
    for (uint32_t limit = 4096; limit <= 65536; limit += 1024) {
        prepare(&f);
        f.d.max_header_bytes = limit;
        create(&f);
        connect_it(&f);
        destroy(&f);
    }
    prepare(&f);
    f.d.max_handles = CALLS;
    create(&f);
    connect_it(&f);
    for (int i = 0; i < CALLS; i++) {
        assert_int_not_equal(call(&f, false), 0);
        pass(&f, 0);
        take(&f, RPC);
    }
    assert_int_equal(f.c->conn->h2.open, CALLS);
    destroy(&f);
}

/* With the smallest max_header_bytes a client is small, and says what to change. */
static void a_header_over_the_limit_ends_the_connection(void **state)
{
    ensign_call_desc_t d;
    size_t bound;
    fake_t f;
    (void)state;
    memset(&d, 0, sizeof d);
    d.method = "/a/b";
    prepare(&f);
    f.d.max_header_bytes = 4096;
    create(&f);
    bound = ensign_memory_bound(&f.d) + ensign_call_memory_bound(&d);
    f.d.max_header_bytes = 0;
    assert_true(bound + 200000 < ensign_memory_bound(&f.d) + ensign_call_memory_bound(&d));
    connect_it(&f);
    assert_int_not_equal(ensign_call_open(f.c, &d).id, 0);
    pass(&f, 0);
    take(&f, RPC);
    enormous_header(&f);
    assert_int_equal(todo(&f, RPC), ENSIGN_LINK_HANGUP);
    assert_true(f.peak <= bound);
    assert_int_equal(f.c->links[RPC].fault.code, ENSIGN_E_TOO_LARGE);
    assert_non_null(strstr(f.c->links[RPC].fault.text, "over 4096 bytes; raise max_header_bytes"));
    down(&f, RPC, 0);
    pull(&f);
    assert_int_equal(f.seen[0].type, ENSIGN_NOTICE_DISCONNECTED);
    assert_int_equal(f.codes[0], ENSIGN_E_TOO_LARGE);
    assert_int_equal(f.codes[1], ENSIGN_E_TOO_LARGE); /* the call's END */
    destroy(&f);
}

static void the_bound_holds_in_a_flood(void **state)
{
    static const uint8_t types[] = { NGHTTP2_PING, NGHTTP2_SETTINGS };
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(types); i++) {
        size_t second, bound, len = types[i] == NGHTTP2_PING ? 8 : 0;
        ensign_call_desc_t d;
        fake_t f;
        begin(&f);
        memset(&d, 0, sizeof d);
        d.max_metadata_bytes = 1024;
        d.window_bytes = d.max_message_bytes = d.send_buffer_bytes = d.max_send_bytes = 1024;
        bound = ensign_memory_bound(&f.d) + ensign_call_memory_bound(&d);
        d.method = "/a/b";
        connect_it(&f);
        assert_int_not_equal(ensign_call_open(f.c, &d).id, 0);
        pass(&f, 0);
        take(&f, RPC);
        flood(&f, types[i], len, ENSI_H2_ACKS - 10);
        enormous_header(&f);
        assert_int_equal(todo(&f, RPC), ENSIGN_LINK_RUN);
        assert_in_range(f.peak, 1, bound);
        second = ensi_h2_memory(ENSI_H2_HEADERS) + ensi_target_memory(&f.c->rpc_target);
        assert_true(bound - second < 2 * f.peak); /* nor is it a fairy tale */
        destroy(&f);
        begin(&f);
        connect_it(&f);
        flood(&f, types[i], len, SIZE_MAX);
        assert_int_equal(todo(&f, RPC), ENSIGN_LINK_HANGUP); /* that is too much of it */
        assert_true(f.peak <= bound);
        destroy(&f);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(endpoints, tell_row),
        cmocka_unit_test_teardown(what_is_an_address_and_what_is_this_machine, tell_row),
        cmocka_unit_test_teardown(a_bad_desc_is_refused_by_name, tell_row),
        cmocka_unit_test_teardown(lists_of_endpoints_are_refused_by_name, tell_row),
        cmocka_unit_test_teardown(proxies_are_refused_by_name, tell_row),
        cmocka_unit_test_teardown(no_proxy_lists_who_goes_without, tell_row),
        cmocka_unit_test_teardown(endpoints_and_a_proxy_are_within_the_bound, tell_row),
        cmocka_unit_test_teardown(auth_urls, tell_row),
        cmocka_unit_test_teardown(the_desc_is_copied, tell_row),
        cmocka_unit_test_teardown(copies_of_keys_and_passwords_are_wiped, tell_row),
        cmocka_unit_test_teardown(a_certificate_and_its_key_are_both_or_none, tell_row),
        cmocka_unit_test_teardown(versions_of_tls_are_checked, tell_row),
        cmocka_unit_test_teardown(create_fails_at_each_allocation, tell_row),
        cmocka_unit_test_teardown(the_bound_counts_methods, tell_row),
        cmocka_unit_test_teardown(a_limit_below_what_create_needs, tell_row),
        cmocka_unit_test_teardown(booleans_of_the_environment, tell_row),
        cmocka_unit_test_teardown(proxies_of_the_environment, tell_row),
        cmocka_unit_test_teardown(the_environment_fills_what_is_left_open, tell_row),
        cmocka_unit_test_teardown(attempts_of_the_environment, tell_row),
        cmocka_unit_test_teardown(the_environment_has_a_certificate, tell_row),
        cmocka_unit_test_teardown(the_environment_has_a_version_of_tls, tell_row),
        cmocka_unit_test_teardown(close_without_handles_in_each_state, tell_row),
        cmocka_unit_test_teardown(close_with_a_call_in_each_state, tell_row),
        cmocka_unit_test_teardown(close_for_ever_waits_for_the_last_handle, tell_row),
        cmocka_unit_test_teardown(nothing_is_renewed_after_the_end, tell_row),
        cmocka_unit_test_teardown(a_closing_client_says_goaway, tell_row),
        cmocka_unit_test_teardown(a_handle_that_has_ended_wants_no_connection, tell_row),
        cmocka_unit_test_teardown(no_memory_is_not_the_peers_fault, tell_row),
        cmocka_unit_test_teardown(forgetting_the_last_handle_closes_too, tell_row),
        cmocka_unit_test_teardown(destroy_in_each_state, tell_row),
        cmocka_unit_test_teardown(failed_comes_behind_all_others_and_closed_behind_it, tell_row),
        cmocka_unit_test_teardown(a_connection_that_nobody_uses_is_no_failure, tell_row),
        cmocka_unit_test_teardown(an_auth_service_that_only_answers_500_is_given_up, tell_row),
        cmocka_unit_test_teardown(durations_are_not_doubled_by_a_loop_that_sleeps, tell_row),
        cmocka_unit_test_teardown(the_connect_timeout_ends_with_settings, tell_row),
        cmocka_unit_test_teardown(wake_is_for_calls_outside_of_a_step, tell_row),
        cmocka_unit_test_teardown(losses_and_connections_are_told_once_in_their_order, tell_row),
        cmocka_unit_test_teardown(a_handle_that_was_not_opened_keeps_its_reason, tell_row),
        cmocka_unit_test_teardown(addresses_that_are_none_are_left_out, tell_row),
        cmocka_unit_test_teardown(more_bytes_than_there_are_is_an_error, tell_row),
        cmocka_unit_test_teardown(any_handle_can_be_cancelled_anywhere, tell_row),
        cmocka_unit_test_teardown(any_handle_can_be_closed_anywhere, tell_row),
        cmocka_unit_test_teardown(what_is_forgotten_gives_no_notice, tell_row),
        cmocka_unit_test_teardown(an_unknown_handle_is_none, tell_row),
        cmocka_unit_test_teardown(cancelling_the_client_ends_all_and_closes_it, tell_row),
        cmocka_unit_test_teardown(closing_the_client_closes_all, tell_row),
        cmocka_unit_test_teardown(a_forgotten_client_is_silent, tell_row),
        cmocka_unit_test_teardown(a_duration_begins_with_the_next_step, tell_row),
        cmocka_unit_test_teardown(results_above_0_have_a_text_when_it_is_asked_for, tell_row),
        cmocka_unit_test_teardown(every_notice_has_a_name, tell_row),
        cmocka_unit_test_teardown(topics_can_be_read_while_open_stands, tell_row),
        cmocka_unit_test_teardown(no_memory_for_a_reply_does_not_hang, tell_row),
        cmocka_unit_test_teardown(no_memory_for_a_stream_does_not_spin, tell_row),
        cmocka_unit_test_teardown(an_answer_of_http_1_is_told, tell_row),
        cmocka_unit_test_teardown(no_descriptor_left_is_told, tell_row),
        cmocka_unit_test_teardown(the_end_of_a_connection_is_told, tell_row),
        cmocka_unit_test_teardown(the_header_limit_is_for_the_peer_only, tell_row),
        cmocka_unit_test_teardown(a_header_over_the_limit_ends_the_connection, tell_row),
        cmocka_unit_test_teardown(the_bound_holds_in_a_flood, tell_row),
    };
    return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
