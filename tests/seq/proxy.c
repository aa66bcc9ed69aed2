/* An HTTP proxy between the client and its servers: CONNECT and its answer in any cut, the proxy's refusals,
 * and who goes through it. */
#include "service.h"

static const char *answer;          /* of the proxy */
static char heads[4][1024];         /* what it was asked */
static size_t head_count;

static const char *on_connect(world_t *w, conn_t *c, const char *head)
{
    (void)w;
    (void)c;
    snprintf(heads[head_count % COUNT(heads)], sizeof heads[0], "%s", head);
    head_count++;
    return answer;
}

static void begin(world_t *w, const char *says)
{
    answer = says;
    head_count = 0;
    w->on_connect = on_connect;
    w->desc.endpoint = "rpc.example:5356";
    w->desc.proxy = "http://me%40home:p%3Ass-w0rd-of-the-proxy@proxy.example:3128/";
    w->proxy_basic = "bWVAaG9tZTpwOnNzLXcwcmQtb2YtdGhlLXByb3h5";
}

SCRIPT(the_session_goes_through_connect)
{
    char want[400];
    ensign_link_t l;
    begin(w, "HTTP/1.1 200 Connection established\r\n\r\n");
    world_create(w);
    service_subscribe(w);
    ensign_tick(w->client, w->now);
    ensign_link(w->client, ENSIGN_LINK_RPC, &l);
    assert_int_equal(l.todo, ENSIGN_LINK_RESOLVE);
    assert_string_equal(l.host, "proxy.example");
    assert_int_equal(l.port, 3128);
    assert_string_equal(peer_field(world_stream(w, 0), ":authority"), "rpc.example:5356");
    snprintf(want, sizeof want, "CONNECT rpc.example:5356 HTTP/1.1\r\nHost: rpc.example:5356\r\n"
             "User-Agent: ensign.h/%s\r\nProxy-Authorization: Basic %s\r\n\r\n", ENSIGN_VERSION,
             w->proxy_basic);
    assert_string_equal(heads[0], want);
    assert_int_equal(head_count, 1);
}

/* Neither end of the body: RFC 9110, 9.3.6. What 1xx says is passed over. */
SCRIPT(any_2xx_opens_the_tunnel)
{
    static const char *const answers[] = {
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n",
    };
    for (size_t i = 0; i < COUNT(answers); i++) {
        begin(w, answers[i]);
        w->desc.proxy = "proxy.example:3128";
        w->proxy_basic = NULL;
        world_create(w);
        service_subscribe(w);
        world_stream(w, 0);
        assert_null(strstr(heads[0], "Proxy-Authorization"));
        world_again(w);
    }
    begin(w, answers[0]);
    world_create(w);
}

SCRIPT(the_auth_service_is_reached_through_it_too)
{
    begin(w, "HTTP/1.1 200 OK\r\n\r\n");
    w->desc.auth_url = "http://auth.example";
    w->desc.client_id = "id";
    w->desc.client_secret = "a-secret-of-more-than-24-characters";
    w->desc.allow_plaintext_token = true;
    world_create(w);
    service_subscribe(w);
    world_stream(w, 0);
    assert_int_equal(w->auth_requests, 1);
    assert_int_equal(head_count, 2);
    assert_true(strncmp(heads[0], "CONNECT rpc.example:5356 ", 25) == 0);
    assert_true(strncmp(heads[1], "CONNECT auth.example:80 ", 24) == 0);
    assert_non_null(strstr(heads[1], w->proxy_basic));
    assert_null(strstr(w->auth_head, "Proxy"));
}

/* What was wrong, in the proxy's words and without its tags; and never what it was given. */
static void refused(world_t *w, const char *says, int native, const char *words)
{
    ensign_subscription_t s;
    const ensign_notice_t *n;
    begin(w, says);
    world_create(w);
    s = service_subscribe(w);
    n = world_waiting(w, s.id, words);
    if (n->error->code != ENSIGN_E_PROXY) fail_msg("%d: %s", n->error->code, n->error->text);
    assert_int_equal(n->error->native, native);
    assert_non_null(strstr(n->error->text, "proxy.example:3128"));
    assert_non_null(strstr(n->error->text, "rpc.example:5356"));
    assert_null(strstr(n->error->text, "w0rd"));
    assert_null(strstr(n->error->text, w->proxy_basic));
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_DISCONNECTED);
    assert_int_equal(w->last_error.code, ENSIGN_E_PROXY);
    answer = "HTTP/1.1 200 OK\r\n\r\n"; /* it is asked again */
    world_stream(w, 0);
    world_again(w);
}

SCRIPT(a_refusal_is_told_in_the_proxys_words)
{
    char large[2000];
    refused(w, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 104\r\n\r\n<html><head>"
            "<title>407 Access\n denied</title><style>p { x }</style></head><b>Give</b> a password.</html>", 407,
            "HTTP 407: 407 Access denied Give a password.; it refuses user or password of proxy (HTTPS_PROXY)");
    refused(w, "HTTP/1.1 403 Filtered\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nport \r\n"
            "b\r\nnot allowed\r\n0\r\n\r\n", 403,
            "HTTP 403: port not allowed; have the proxy allow this host and port");
    refused(w, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", 502,
            "answers CONNECT rpc.example:5356 with HTTP 502");
    refused(w, "HTTP/1.1 302 Found\r\nLocation: http://portal\r\nContent-Length: 5\r\n\r\nlogin", 302,
            "HTTP 302: login");
    snprintf(large, sizeof large, "HTTP/1.1 503 X\r\nContent-Length: 1900\r\n\r\nbusy %01900d", 0);
    refused(w, large, 503, "HTTP 503: busy 000000");
    /* longer than is kept, and without a length */
    snprintf(large, sizeof large, "HTTP/1.1 500 X\r\n\r\nso much %01900d", 0);
    refused(w, large, 500, "HTTP 500: so much 0000000");
    refused(w, "SSH-2.0-OpenSSH_9.2p1\r\n", 0,
            "in HTTP/1.1: the answer does not begin with HTTP/1.x and a status");
    refused(w, "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", 200, "in HTTP/1.1: a header line without a colon; is proxy");
    begin(w, answer);
    world_create(w);
}

/* Without a password the advice is to give one. */
SCRIPT(a_proxy_that_wants_a_password_is_told_so)
{
    ensign_subscription_t s;
    begin(w, "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n");
    w->desc.proxy = "proxy.example:3128";
    w->proxy_basic = NULL;
    world_create(w);
    s = service_subscribe(w);
    world_waiting(w, s.id, "with HTTP 407; set proxy to http://user:password@host:port");
}

static void closes(world_t *w, const char *says, int native, const char *words)
{
    ensign_subscription_t s;
    begin(w, says);
    world_create(w);
    s = service_subscribe(w);
    world_until(w, head_count > 0 && w->conn[ENSIGN_LINK_RPC] &&
                       w->conn[ENSIGN_LINK_RPC]->out_at == w->conn[ENSIGN_LINK_RPC]->out.len);
    world_cut(w, ENSIGN_LINK_RPC, 0);
    assert_int_equal(world_waiting(w, s.id, words)->error->code, ENSIGN_E_PROXY);
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_DISCONNECTED);
    assert_int_equal(w->last_error.native, native);
    world_again(w);
}

SCRIPT(a_proxy_that_closes_is_told_with_what_it_said)
{
    closes(w, "", 0,
           "does not answer CONNECT rpc.example:5356 in HTTP/1.1: the peer closed before an answer came");
    closes(w, "HTTP/1.1 40", 0, "the peer closed before the answer was whole");
    closes(w, "HTTP/1.1 407 No\r\n\r\nWho are you?", 407, "HTTP 407: Who are you?; it refuses user or password");
    closes(w, "HTTP/1.1 407 No\r\nContent-Length: 500\r\n\r\nWho are", 407, "HTTP 407: Who are; it refuses");
    begin(w, answer);
    world_create(w);
}

SCRIPT(a_mute_proxy_is_given_up)
{
    ensign_subscription_t s;
    begin(w, "");
    w->desc.connect_timeout_ms = 5000;
    world_create(w);
    s = service_subscribe(w);
    world_waiting(w, s.id,
                  "proxy: proxy.example:3128 did not answer CONNECT rpc.example:5356 within connect_timeout_ms");
    assert_int_equal(w->waits_for.code, ENSIGN_E_STALLED);
    answer = "HTTP/1.1 407 No\r\n\r\nWho are you?"; /* and it keeps the connection open */
    world_waiting(w, s.id, "HTTP 407: Who are you?; it refuses user or password");
    assert_int_equal(w->waits_for.code, ENSIGN_E_PROXY);
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    world_waiting(w, s.id, "rpc: cannot connect to the proxy proxy.example:3128: ");
    assert_non_null(strstr(w->waits_for.text, "no_proxy (NO_PROXY)"));
}

/* An endpoint that needs no proxy serves when the one behind it fails. */
static dial_t on_dial(world_t *w, int link, const char *address)
{
    (void)link;
    if (strcmp(address, "10.0.0.7") == 0) w->on_connect = NULL;
    return strcmp(address, "10.0.0.1") == 0 ? DIAL_REFUSE : DIAL_ACCEPT;
}

SCRIPT(the_proxy_is_looked_at_for_each_endpoint)
{
    begin(w, "HTTP/1.1 403 No\r\n\r\n");
    w->desc.endpoint = "192.0.2.1:1,10.0.0.7:2";
    w->desc.proxy = "10.0.0.1:3128";
    w->proxy_basic = NULL;
    w->desc.no_proxy = "10.0.0.0/8";
    w->on_dial = on_dial;
    world_create(w);
    service_subscribe(w);
    assert_string_equal(peer_field(world_stream(w, 0), ":authority"), "10.0.0.7:2");
    assert_int_equal(head_count, 0);
    world_hear(w);
    assert_int_equal(w->disconnected, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_MODES(the_session_goes_through_connect),
        IN_MODES(any_2xx_opens_the_tunnel),
        IN_MODES(the_auth_service_is_reached_through_it_too),
        IN_MODES(a_refusal_is_told_in_the_proxys_words),
        IN_MODES(a_proxy_that_closes_is_told_with_what_it_said),
        IN_MODES(a_mute_proxy_is_given_up),
        IN_MODES(a_proxy_that_wants_a_password_is_told_so),
        IN_MODES(the_proxy_is_looked_at_for_each_endpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
