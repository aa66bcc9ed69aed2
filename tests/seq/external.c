/* TLS that is the caller's (tls.external, auth_tls.external): sessions go through it as over our own, the
 * link says what it needs, and a desc that does not fit is refused. external_no_tls.c runs it without
 * mbedTLS. */
#include "service.h"

static const char a_token[] = "a-token-of-more-than-24-characters";
static const char a_secret[] = "a-secret-of-more-than-24-characters";

/* ------------------------------------------------------------------ the caller's TLS
 * It changes no byte, and like a server of TLS it says nothing before the client has spoken. */
typedef struct mine_t { bool spoken; } mine_t;

static const char *names[ENSIGN_MAX_LINKS];    /* that the certificates must have, by server */

static void mine_begin(conn_t *c)
{
    c->secure = calloc(1, sizeof(mine_t));
    if (!c->secure) abort();
}

static void mine_take(conn_t *c, const uint8_t *p, size_t n)
{
    ensign_link_t l;
    ensign_link(((world_t *)c->owner)->client, c->link, &l);
    assert_string_equal(l.server_name, names[world_server(c->link)]);
    assert_string_equal(l.alpn, c->link == ENSIGN_LINK_AUTH ? "http/1.1" : "h2");
    ((mine_t *)c->secure)->spoken = true;
    world_plain(c, p, n);
}

static void mine_give(conn_t *c)
{
    while (((mine_t *)c->secure)->spoken && conn_fill(c, 16384) > 0) {
        bytes_add(&c->wire, c->out.p + c->out_at, c->out.len - c->out_at);
        c->out_at = c->out.len;
    }
}

static void mine_end(conn_t *c)
{
    free(c->secure);
    c->secure = NULL;
}

static const world_secure_t mine = { mine_begin, mine_take, mine_give, mine_end };

static void begin(world_t *w)
{
    w->secure = &mine;
    w->desc.endpoint = "rpc.example:5356";
    w->desc.tls.off = false;
    w->desc.tls.external = true;
    w->desc.token = a_token;
    names[ENSIGN_LINK_RPC] = "rpc.example";
    names[ENSIGN_LINK_AUTH] = "auth.example";
}

static void with_key(world_t *w, const char *auth_url)
{
    w->desc.token = NULL;
    w->desc.client_id = "id";
    w->desc.client_secret = a_secret;
    w->desc.auth_url = auth_url;
}

static const char *said;            /* the last warning */

static void on_log(void *user, int level, const char *text)
{
    (void)user;
    if (level <= ENSIGN_LOG_WARNING) said = text;
}

/* ------------------------------------------------------------------ sessions */
SCRIPT(what_the_server_gets_is_as_over_our_own_tls)
{
    char bearer[80];
    ensign_link_info_t info;
    stream_t *s;
    begin(w);
    said = NULL;
    w->desc.log = on_log;
    world_create(w);
    service_subscribe(w);
    s = world_stream(w, 0);
    snprintf(bearer, sizeof bearer, "Bearer %s", a_token);
    assert_string_equal(peer_field(s, ":scheme"), "https");
    assert_string_equal(peer_field(s, ":authority"), "rpc.example:5356");
    assert_string_equal(peer_field(s, "authorization"), bearer);
    assert_int_equal(ensign_link_info(w->client, ENSIGN_LINK_RPC, &info), ENSIGN_OK);
    assert_true(info.external);
    assert_false(info.resumed);
    assert_null(info.tls_version);
    assert_null(info.cipher);
    assert_null(info.alpn);
    assert_string_equal(info.endpoint, "rpc.example:5356");
    assert_null(said); /* nothing to warn of */
}

SCRIPT(a_key_goes_to_an_auth_service_of_https)
{
    ensign_link_info_t info;
    begin(w);
    with_key(w, "https://auth.example");
    w->desc.auth_tls.external = true;
    w->auth_manual = true;
    world_create(w);
    service_subscribe(w);
    world_until(w, w->auth_requests == 1);
    assert_non_null(strstr(w->auth_head, "\r\nHost: auth.example\r\n")); /* 443 is the default of https */
    assert_non_null(strstr(w->auth_body, a_secret));
    assert_int_equal(ensign_link_info(w->client, ENSIGN_LINK_AUTH, &info), ENSIGN_OK);
    assert_true(info.external);
    w->auth_manual = false;
    world_cut(w, ENSIGN_LINK_AUTH, ECONNRESET);
    assert_string_equal(peer_field(world_stream(w, 0), ":scheme"), "https");
}

/* Of two links each has its own: here the gRPC server is on this machine, in plaintext. */
SCRIPT(plaintext_beside_it_is_told_apart)
{
    ensign_link_t l;
    ensign_link_info_t info;
    begin(w);
    w->secure = NULL;
    with_key(w, "https://auth.example:4430");
    w->desc.endpoint = "127.0.0.1:5356";
    w->desc.tls.external = false;
    w->desc.tls.off = true;
    w->desc.auth_tls.external = true;
    world_create(w);
    service_subscribe(w);
    assert_string_equal(peer_field(world_stream(w, 0), ":scheme"), "http");
    assert_non_null(strstr(w->auth_head, "\r\nHost: auth.example:4430\r\n"));
    ensign_link(w->client, ENSIGN_LINK_RPC, &l);
    assert_null(l.server_name);
    assert_null(l.alpn);
    assert_int_equal(ensign_link_info(w->client, ENSIGN_LINK_RPC, &info), ENSIGN_OK);
    assert_false(info.external);
}

/* A URL of http stays plaintext, whatever auth_tls has: the key is for this machine only. */
SCRIPT(an_auth_service_of_http_is_plaintext)
{
    ensign_link_t l;
    begin(w);
    with_key(w, "http://localhost:8088");
    w->desc.auth_tls.external = true;
    w->secure = NULL;
    w->auth_manual = true;
    world_create(w);
    service_subscribe(w);
    world_until(w, w->auth_requests == 1);
    ensign_link(w->client, ENSIGN_LINK_AUTH, &l);
    assert_int_equal(l.todo, ENSIGN_LINK_RUN);
    assert_null(l.server_name);
    w->auth_manual = false;
    world_cut(w, ENSIGN_LINK_AUTH, ECONNRESET);
    world_stream(w, 0);
    world_again(w);

    begin(w);
    with_key(w, "http://auth.example");
    w->desc.auth_tls.external = true;
    assert_int_equal(ensign_create(&w->desc, &w->client, &w->why), ENSIGN_E_ARGUMENT);
    assert_non_null(strstr(w->why.text, "the key would go in plaintext to auth.example:80; use https://"));
    with_key(w, "https://auth.example");
    world_create(w);
}

static dial_t on_dial(world_t *w, int server, const char *address)
{
    (void)w;
    (void)server;
    return strcmp(address, "192.0.2.1") == 0 ? DIAL_REFUSE : DIAL_ACCEPT;
}

/* The name is that of the endpoint which the link is connected to, or is about to be. */
SCRIPT(each_endpoint_has_its_name)
{
    begin(w);
    w->on_dial = on_dial;
    w->desc.endpoint = "192.0.2.1:1,[2001:db8::1]:2,unix:/run/there";
    names[ENSIGN_LINK_RPC] = "2001:db8::1";
    world_create(w);
    service_subscribe(w);
    assert_string_equal(peer_field(world_stream(w, 0), ":scheme"), "https");
    world_again(w);

    begin(w); /* the certificate at a unix socket is this machine's */
    w->desc.endpoint = "unix:/run/there";
    names[ENSIGN_LINK_RPC] = "localhost";
    world_create(w);
    service_subscribe(w);
    assert_string_equal(peer_field(world_stream(w, 0), ":scheme"), "https");
}

SCRIPT(the_next_connection_after_a_goaway_has_it_too)
{
    ensign_link_info_t info;
    ensign_subscription_t sub;
    begin(w);
    world_create(w);
    sub = service_subscribe(w);
    world_stream(w, 0);
    service_ready(w->streams[0], 2);
    world_await(w, sub.id, ENSIGN_NOTICE_OPEN);
    peer_goaway_behind(w->streams[0]);
    world_stream(w, 1);
    assert_int_equal(w->streams[1]->conn->link, ENSIGN_LINK_RPC_2);
    assert_int_equal(ensign_link_info(w->client, ENSIGN_LINK_RPC_2, &info), ENSIGN_OK);
    assert_true(info.external);
}

/* ------------------------------------------------------------------ a proxy on the way */
static unsigned connects;

static const char *on_connect(world_t *w, conn_t *c, const char *head)
{
    ensign_link_t l;
    ensign_link(w->client, c->link, &l);
    assert_null(l.server_name); /* this goes to the proxy as it is */
    assert_null(l.alpn);
    assert_string_equal(l.host, "proxy.example");
    if (c->link == ENSIGN_LINK_AUTH) assert_memory_equal(head, "CONNECT auth.example:443 ", 25);
    else assert_memory_equal(head, "CONNECT rpc.example:5356 ", 25);
    connects++;
    return "HTTP/1.1 200 Connection established\r\n\r\n";
}

SCRIPT(tls_begins_behind_the_answer_of_a_proxy)
{
    begin(w);
    with_key(w, "https://auth.example");
    w->desc.auth_tls.external = true;
    w->desc.proxy = "http://me:p%3Ass-w0rd-of-the-proxy@proxy.example:3128";
    w->on_connect = on_connect;
    connects = 0;
    world_create(w);
    service_subscribe(w);
    assert_string_equal(peer_field(world_stream(w, 0), ":scheme"), "https");
    assert_int_equal(connects, 2);
    assert_int_equal(w->auth_requests, 1);
}

/* Whoever is between could put bytes there, which would count as the server's. */
static const char *on_connect_with_more(world_t *w, conn_t *c, const char *head)
{
    (void)on_connect(w, c, head);
    return connects > 1 ? "HTTP/1.1 200 OK\r\n\r\n" : "HTTP/1.1 200 OK\r\n\r\nmore";
}

SCRIPT(bytes_behind_the_answer_of_a_proxy_are_refused)
{
    ensign_subscription_t s;
    if (w->mode == BYTE) { /* they come later then, and no HTTP/2 begins so */
        world_create(w);
        return;
    }
    begin(w);
    w->mode = WHOLE;
    w->desc.proxy = "proxy.example:3128";
    w->on_connect = on_connect_with_more;
    connects = 0;
    world_create(w);
    s = service_subscribe(w);
    world_waiting(w, s.id, "proxy: bytes follow the answer of proxy.example:3128 to CONNECT "
                           "rpc.example:5356, before TLS has begun");
    assert_int_equal(w->waits_for.code, ENSIGN_E_PROXY);
    world_stream(w, 0);
}

/* ------------------------------------------------------------------ one link, by hand */
enum { RPC = ENSIGN_LINK_RPC };

/* The client wants a connection to 192.0.2.1, perhaps by a proxy; *l is its link. */
static ensign_t *dialing(const char *proxy, ensign_link_t *l)
{
    static ensign_desc_t d;
    ensign_error_t why;
    ensign_call_desc_t call;
    ensign_t *c;
    memset(&d, 0, sizeof d);
    d.endpoint = "192.0.2.1:443";
    d.tls.external = true;
    d.token = a_token;
    d.proxy = proxy;
    d.io = ENSIGN_IO_CALLER;
    d.seed = 7;
    if (ensign_create(&d, &c, &why) != ENSIGN_OK) fail_msg("%s", why.text);
    memset(&call, 0, sizeof call);
    call.method = "/a.B/C";
    call.unary = true;
    call.wait_for_ready = true;
    call.deadline_ms = 60000;
    assert_true(ensign_call_open(c, &call).id != 0);
    ensign_tick(c, 1000);
    ensign_link(c, RPC, l);
    assert_int_equal(l->todo, ENSIGN_LINK_DIAL);
    return c;
}

static void put(ensign_t *c, const char *bytes, size_t len)
{
    size_t cap;
    uint8_t *rx = ensign_rx_buf(c, RPC, &cap);
    assert_true(rx && cap >= len);
    memcpy(rx, bytes, len);
    ensign_rx_ack(c, RPC, len, 1000);
}

static void take(ensign_t *c, size_t len)
{
    ensign_tx_ack(c, RPC, len);
}

static size_t waiting(ensign_t *c)
{
    size_t len;
    (void)ensign_tx_buf(c, RPC, &len);
    return len;
}

/* The client's notice of the link's end, with its error. */
static void went_down(ensign_t *c, int code, const char *text)
{
    const ensign_notice_t *n = ensign_next_of(c, ENSIGN_CLIENT);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_DISCONNECTED);
    if (n->error->code != code || !strstr(n->error->text, text))
        fail_msg("%d \"%s\", not %d \"%s\"", n->error->code, n->error->text, code, text);
    ensign_destroy(c);
}

/* What connects and shakes hands in one goes by DIAL. */
static void the_name_is_told_before_the_connection_is_made(void **state)
{
    ensign_link_t l;
    ensign_t *c = dialing(NULL, &l);
    (void)state;
    assert_string_equal(l.server_name, "192.0.2.1");
    assert_string_equal(l.alpn, "h2");
    ensign_link_up(c, RPC, l.attempt, 0, 1000);
    ensign_link(c, RPC, &l);
    assert_string_equal(l.server_name, "192.0.2.1");
    ensign_close(c, ENSIGN_CLIENT, 0);
    ensign_cancel(c, ENSIGN_CLIENT);
    ensign_tick(c, 2000);
    ensign_link(c, RPC, &l);
    assert_int_equal(l.todo, ENSIGN_LINK_HANGUP);
    assert_string_equal(l.server_name, "192.0.2.1"); /* what is in tx still goes into it */
    ensign_destroy(c);

    c = dialing("192.0.2.9:3128", &l);
    assert_string_equal(l.host, "192.0.2.9");
    assert_null(l.server_name);
    ensign_destroy(c);
}

/* The proxy's answer can overtake the news that CONNECT is out. */
static void connect_is_sent_whole_before_tls_begins(void **state)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\n\r\n";
    ensign_link_t l;
    ensign_t *c = dialing("192.0.2.9:3128", &l);
    size_t len;
    (void)state;
    ensign_link_up(c, RPC, l.attempt, 0, 1000);
    len = waiting(c);
    assert_true(len > 30);
    take(c, len - 1);
    put(c, answer, sizeof answer - 1);
    ensign_link(c, RPC, &l);
    assert_null(l.server_name);
    assert_int_equal(waiting(c), 1);
    take(c, 1);
    ensign_link(c, RPC, &l);
    assert_string_equal(l.server_name, "192.0.2.1");
    assert_memory_equal(ensign_tx_buf(c, RPC, &len), "PRI * HTTP/2.0", 14);
    ensign_destroy(c);
}

static void a_failure_of_the_callers_tls_is_told(void **state)
{
    static const int codes[] = { ENSIGN_E_TLS, ENSIGN_E_CERTIFICATE, ENSIGN_E_HOSTNAME, ENSIGN_E_ALPN };
    (void)state;
    for (size_t i = 0; i < 2 * COUNT(codes); i++) {
        char text[160];
        ensign_link_t l;
        ensign_t *c = dialing(NULL, &l);
        int code = codes[i / 2];
        if (i % 2) ensign_link_up(c, RPC, l.attempt, 0, 1000);
        ensign_link_down(c, RPC, l.attempt, code, 1000);
        snprintf(text, sizeof text, "tls: your own TLS (tls.external) with 192.0.2.1:443 has failed: %s",
                 ensign_result_text(code));
        went_down(c, code, text);
    }
}

static void other_failures_are_the_links(void **state)
{
    static const char alert[] = { 21, 3, 3, 0, 2, 2, 40 };
    ensign_link_t l;
    ensign_t *c = dialing(NULL, &l);
    (void)state;
    ensign_link_down(c, RPC, l.attempt, ECONNREFUSED, 1000);
    went_down(c, ENSIGN_E_CONNECT, "rpc: cannot connect to 192.0.2.1:443");

    c = dialing(NULL, &l);
    ensign_link_up(c, RPC, l.attempt, 0, 1000);
    ensign_link_down(c, RPC, l.attempt, 0, 1000);
    went_down(c, ENSIGN_E_CLOSED, "before it said a word; has your TLS agreed on h2 with it, by ALPN?");

    c = dialing(NULL, &l);
    ensign_link_up(c, RPC, l.attempt, 0, 1000);
    put(c, alert, sizeof alert);
    ensign_link_down(c, RPC, l.attempt, 0, 1000);
    went_down(c, ENSIGN_E_PROTOCOL, "with tls.external put into rx what your TLS has decrypted");
}

/* ------------------------------------------------------------------ descs */
static ensign_desc_t desc(void)
{
    ensign_desc_t d;
    memset(&d, 0, sizeof d);
    d.endpoint = "rpc.example:443";
    d.auth_url = "https://auth.example";
    d.io = ENSIGN_IO_CALLER;
    d.seed = 7;
    d.tls.external = d.auth_tls.external = true;
    return d;
}

static void taken(const ensign_desc_t *d)
{
    ensign_error_t why;
    ensign_t *c;
    if (ensign_create(d, &c, &why) != ENSIGN_OK) fail_msg("%s", why.text);
    ensign_destroy(c);
}

static void refused(const ensign_desc_t *d, const char *what, const char *advice)
{
    ensign_error_t why;
    ensign_t *c;
    assert_int_equal(ensign_create(d, &c, &why), ENSIGN_E_ARGUMENT);
    if (!strstr(why.text, what) || !strstr(why.text, advice)) fail_msg("\"%s\": %s", what, why.text);
    assert_null(c);
}

static void on_key_log(void *user, const char *line)
{
    (void)user;
    (void)line;
}

/* Sets the field of that number; NULL: there is none. */
static const char *spoil(ensign_tls_desc_t *t, unsigned number)
{
    switch (number) {
    case 0: t->ca_file = "ca.pem"; return "ca_file (ENSIGN_CA_FILE)";
    case 1: t->ca_pem = ensign_str("ca"); return "ca_pem";
    case 2: t->server_name = "name"; return "server_name";
    case 3: t->cert_file = "cert.pem"; return "cert_file (ENSIGN_CERT_FILE)";
    case 4: t->cert_pem = ensign_str("cert"); return "cert_pem";
    case 5: t->key_file = "key.pem"; return "key_file (ENSIGN_KEY_FILE)";
    case 6: t->key_pem = ensign_str("key"); return "key_pem";
    case 7: t->key_password = "sesame"; return "key_password (ENSIGN_KEY_PASSWORD)";
    case 8: t->min_version = ENSIGN_TLS_1_2; return "min_version (ENSIGN_MIN_TLS)";
    case 9: t->no_resume = true; return "no_resume";
    case 10: t->ignore_dates = true; return "ignore_dates";
    case 11: t->insecure_skip_verify = true; return "insecure_skip_verify";
    case 12: t->key_log = on_key_log; return "key_log";
    default: return NULL;
    }
}

static void fields_of_our_own_tls_are_refused(void **state)
{
    const char *field;
    (void)state;
    for (unsigned i = 0;; i++) {
        char text[80];
        ensign_desc_t d = desc();
        taken(&d);
        if (!(field = spoil(&d.tls, i))) break;
        snprintf(text, sizeof text, "client: tls.%s has no effect beside external", field);
        refused(&d, text, "do the same in your own TLS (or set external before ensign_desc_env)");
        d = desc();
        spoil(&d.auth_tls, i);
        snprintf(text, sizeof text, "client: auth_tls.%s has no effect beside external", field);
        refused(&d, text, "leave it out");
    }
}

static void our_own_sockets_have_our_own_tls(void **state)
{
    static const int ours[] = { ENSIGN_IO_SOCKETS, ENSIGN_IO_SOCKETS_NO_DNS };
    (void)state;
    for (size_t i = 0; i < COUNT(ours); i++) {
        ensign_desc_t d = desc();
        d.io = ours[i];
        refused(&d, "client: tls.external is set, and the sockets are ours", "set io to ENSIGN_IO_CALLER");
        d.tls.external = false;
        refused(&d, "client: auth_tls.external is set, and the sockets are ours", "or leave external out");
    }
}

static void plaintext_and_external_exclude_each_other(void **state)
{
    ensign_desc_t d = desc();
    (void)state;
    d.tls.off = true;
    refused(&d, "client: tls.off (ENSIGN_INSECURE) and tls.external are both set", "leave off out");
    d = desc();
    d.auth_tls.off = true; /* is not looked at */
    taken(&d);
}

/* Secrets go where TLS is, without allow_plaintext_token. */
static void secrets_are_not_refused_as_plaintext(void **state)
{
    ensign_desc_t d = desc();
    (void)state;
    d.token = a_token;
    taken(&d);
    d.token = NULL;
    d.client_id = "id";
    d.client_secret = a_secret;
    taken(&d);
    d.proxy = "proxy.example:3128";
    taken(&d);
    d.auth_url = "https://auth.example,http://elsewhere.example";
    refused(&d, "the key would go in plaintext to elsewhere.example:80", "use https://");
}

/* Without mbedTLS each link must have TLS of the caller's, or none. */
static void each_link_says_whose_tls_it_has(void **state)
{
    ensign_desc_t d = desc();
    (void)state;
    d.auth_tls.external = false;
#ifdef ENSIGN_NO_TLS
    refused(&d, "client: ENSIGN_NO_TLS is defined: set an auth_url that begins with http://",
            "auth_tls.external");
    d.auth_url = "http://localhost:8088";
    taken(&d);
    d.tls.external = false;
    refused(&d, "client: ENSIGN_NO_TLS is defined: set tls.off", "or tls.external and bring your own TLS");
    d.tls.off = true;
#else
    taken(&d);
    d = desc();
    d.tls.external = false;
#endif
    taken(&d);
}

static void the_bound_is_that_of_plaintext(void **state)
{
    ensign_desc_t d = desc();
    size_t bound = ensign_memory_bound(&d);
    (void)state;
    d.tls.external = false;
    d.tls.off = true;
    assert_int_equal(ensign_memory_bound(&d), bound);
#ifndef ENSIGN_NO_TLS
    d.tls.off = false;
    assert_int_equal(ensign_memory_bound(&d), bound + 2 * ENSI_LINK_TLS + sizeof(ensi_tls_conf_t));
    d.auth_tls.external = false;
    assert_int_equal(ensign_memory_bound(&d), bound + 3 * ENSI_LINK_TLS + 2 * sizeof(ensi_tls_conf_t));
#endif
}

/* Settings of the environment are for our own TLS, but for one that says there shall be none. */
static void the_environment_leaves_it_alone(void **state)
{
    static const char *const set[][2] = {
        { "ENSIGN_CA_FILE", "ca.pem" }, { "ENSIGN_MIN_TLS", "1.2" }, { "ENSIGN_CERT_FILE", "cert.pem" },
        { "ENSIGN_KEY_FILE", "key.pem" }, { "ENSIGN_KEY_PASSWORD", "sesame" },
    };
    ensign_error_t why;
    ensign_desc_t d = desc();
    (void)state;
    for (size_t i = 0; i < COUNT(set); i++) setenv(set[i][0], set[i][1], 1);
    assert_int_equal(ensign_desc_env(&d, &why), ENSIGN_OK);
    taken(&d);
    d = desc();
    d.auth_tls.external = false;
    assert_int_equal(ensign_desc_env(&d, &why), ENSIGN_OK);
    assert_null(d.tls.ca_file);
    assert_string_equal(d.auth_tls.ca_file, "ca.pem");
    assert_int_equal(d.auth_tls.min_version, ENSIGN_TLS_1_2);
    setenv("ENSIGN_INSECURE", "1", 1);
    assert_int_equal(ensign_desc_env(&d, &why), ENSIGN_OK);
    refused(&d, "tls.off (ENSIGN_INSECURE)", "are both set");
    unsetenv("ENSIGN_INSECURE");
    for (size_t i = 0; i < COUNT(set); i++) unsetenv(set[i][0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_MODES(what_the_server_gets_is_as_over_our_own_tls),
        IN_MODES(a_key_goes_to_an_auth_service_of_https),
        IN_MODES(plaintext_beside_it_is_told_apart),
        IN_MODES(an_auth_service_of_http_is_plaintext),
        IN_MODES(each_endpoint_has_its_name),
        IN_MODES(the_next_connection_after_a_goaway_has_it_too),
        IN_MODES(tls_begins_behind_the_answer_of_a_proxy),
        IN_MODES(bytes_behind_the_answer_of_a_proxy_are_refused),
        cmocka_unit_test(the_name_is_told_before_the_connection_is_made),
        cmocka_unit_test(connect_is_sent_whole_before_tls_begins),
        cmocka_unit_test(a_failure_of_the_callers_tls_is_told),
        cmocka_unit_test(other_failures_are_the_links),
        cmocka_unit_test(fields_of_our_own_tls_are_refused),
        cmocka_unit_test(our_own_sockets_have_our_own_tls),
        cmocka_unit_test(plaintext_and_external_exclude_each_other),
        cmocka_unit_test(secrets_are_not_refused_as_plaintext),
        cmocka_unit_test(each_link_says_whose_tls_it_has),
        cmocka_unit_test(the_bound_is_that_of_plaintext),
        cmocka_unit_test(the_environment_leaves_it_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
