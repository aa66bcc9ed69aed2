/* goaway.c - a server that sends GOAWAY with a stream open and takes the next connection, over sockets
 *
 * Client and server share one thread and one poll loop: the server's sockets are `extra` of ensign_wait.
 * It speaks in the clear or by TLS, and answers unary calls at once; other streams are the test's. */
#define _POSIX_C_SOURCE 200809L
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include <mbedtls/ssl.h>
#include "../certs.h"
#define PEER_PLAIN
#include "../h2peer.h"

enum { CONNS = 8, STREAMS = 64, WAIT_MS = 20000, TURN_MS = 100 };

static struct {
    int listener, port;
    conn_t conns[CONNS];
    int fds[CONNS];                 /* -1: closed */
    size_t count;
    stream_t *streams[STREAMS];
    size_t stream_count;
    bool tls;
    certs_t cert;
    uint64_t seed;
    mbedtls_ssl_config config;
    mbedtls_x509_crt chain;
    mbedtls_ssl_context ssl[CONNS];
} server;
static ensign_t *client;

/* ------------------------------------------------------------------ the server */
static bool peer_keep(conn_t *c, stream_t *s)
{
    (void)c;
    assert_true(server.stream_count < STREAMS);
    server.streams[server.stream_count++] = s;
    return true;
}

static int tls_send(void *fd, const unsigned char *p, size_t n)
{
    ssize_t k = send(*(int *)fd, p, n, MSG_NOSIGNAL);
    if (k < 0 && errno == EAGAIN) return MBEDTLS_ERR_SSL_WANT_WRITE;
    return k < 0 ? MBEDTLS_ERR_SSL_CONN_EOF : (int)k;
}

static int tls_recv(void *fd, unsigned char *p, size_t n)
{
    ssize_t k = recv(*(int *)fd, p, n, 0);
    if (k < 0 && errno == EAGAIN) return MBEDTLS_ERR_SSL_WANT_READ;
    return k <= 0 ? MBEDTLS_ERR_SSL_CONN_EOF : (int)k;
}

/* With a certificate that is its own issuer. */
static void server_use_tls(void)
{
    static const char *alpn[] = { "h2", NULL };

    server.tls = true;
    certs_make(&server.cert, NULL, "CN=localhost", "127.0.0.1,ip:127.0.0.1", CERTS_FROM, CERTS_TO);
    mbedtls_ssl_config_init(&server.config);
    mbedtls_x509_crt_init(&server.chain);
    assert_int_equal(mbedtls_ssl_config_defaults(&server.config, MBEDTLS_SSL_IS_SERVER,
                                                 MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT),
                     0);
    assert_int_equal(mbedtls_x509_crt_parse(&server.chain, (const unsigned char *)server.cert.pem,
                                            strlen(server.cert.pem) + 1),
                     0);
    mbedtls_ssl_conf_rng(&server.config, certs_random, &server.seed);
    assert_int_equal(mbedtls_ssl_conf_own_cert(&server.config, &server.chain, &server.cert.key), 0);
    assert_int_equal(mbedtls_ssl_conf_alpn_protocols(&server.config, alpn), 0);
}

/* On the port that it had before, if any. */
static void server_listen(void)
{
    struct sockaddr_in a;
    socklen_t len = sizeof a;
    int on = 1;

    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons((uint16_t)server.port);
    server.listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(server.listener >= 0);
    (void)setsockopt(server.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    assert_int_equal(bind(server.listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(server.listener, 8), 0);
    assert_int_equal(getsockname(server.listener, (struct sockaddr *)&a, &len), 0);
    server.port = ntohs(a.sin_port);
    assert_int_equal(fcntl(server.listener, F_SETFL, O_NONBLOCK), 0);
}

static void server_accept(void)
{
    int fd = accept(server.listener, NULL, NULL), on = 1;

    if (fd < 0) return;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    assert_true(server.count < CONNS);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    server.conns[server.count].number = (unsigned)server.count;
    conn_open(&server.conns[server.count], NULL, 0);
    server.fds[server.count] = fd;
    if (server.tls) {
        mbedtls_ssl_context *ssl = &server.ssl[server.count];
        mbedtls_ssl_init(ssl);
        assert_int_equal(mbedtls_ssl_setup(ssl, &server.config), 0);
        mbedtls_ssl_set_bio(ssl, &server.fds[server.count], tls_send, tls_recv, NULL);
    }
    server.count++;
}

static void server_close(size_t i)
{
    if (server.fds[i] < 0) return;
    for (size_t k = 0; k < server.stream_count; k++)
        if (server.streams[k]->conn == &server.conns[i]) server.streams[k]->closed = true;
    conn_drop(&server.conns[i]);
    if (server.tls) mbedtls_ssl_free(&server.ssl[i]);
    close(server.fds[i]);
    server.fds[i] = -1;
}

/* All that is there: what TLS has taken in, no poll will tell of. */
static void server_read(size_t i)
{
    uint8_t bytes[4096];
    int n;

    do {
        n = server.tls ? mbedtls_ssl_read(&server.ssl[i], bytes, sizeof bytes)
                       : tls_recv(&server.fds[i], bytes, sizeof bytes);
        if (n > 0) conn_feed(&server.conns[i], bytes, (size_t)n);
    } while (n > 0);
    if (n != MBEDTLS_ERR_SSL_WANT_READ && n != MBEDTLS_ERR_SSL_WANT_WRITE) server_close(i);
}

static void server_answer(void)
{
    ensign_slice_t m;
    for (size_t i = 0; i < server.stream_count; i++) {
        stream_t *s = server.streams[i];
        if (!s->headers || s->closed || s->done) continue;
        if (strcmp(peer_field(s, ":path"), "/test.Service/Unary") != 0 || !peer_take(s, &m)) continue;
        peer_message(s, m.ptr, m.len);
        peer_finish(s, 0, NULL, NULL);
    }
}

static void server_write(size_t i)
{
    conn_t *c = &server.conns[i];
    size_t n = conn_fill(c, 65536);
    int sent = 0;

    if (n > 0)
        sent = server.tls ? mbedtls_ssl_write(&server.ssl[i], c->out.p + c->out_at, n)
                          : tls_send(&server.fds[i], c->out.p + c->out_at, n);
    if (sent > 0) c->out_at += (size_t)sent;
    if (n == 0 && !nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session))
        server_close(i);
}

/* Waits for bytes on either side, and lets both go on. */
static void turn(void)
{
    ensign_poll_t extra[CONNS + 1];
    size_t n = 0;
    int rc;

    memset(extra, 0, sizeof extra);
    server_accept();
    for (size_t i = 0; i < server.count; i++)
        if (server.fds[i] >= 0) server_read(i);
    server_answer();
    for (size_t i = 0; i < server.count; i++)
        if (server.fds[i] >= 0) server_write(i);
    if (server.listener >= 0) extra[n++].fd = server.listener;
    for (size_t i = 0; i < server.count; i++)
        if (server.fds[i] >= 0) extra[n++].fd = server.fds[i];
    for (size_t i = 0; i < n; i++) extra[i].want = ENSIGN_READ;
    rc = ensign_wait(client, extra, n, TURN_MS);
    if (rc < 0) fail_msg("%s", ensign_error(client)->text);
}

#define until(condition)                                                                                     \
    do {                                                                                                     \
        uint64_t end_ = ensign_now_ms() + WAIT_MS;                                                           \
        while (!(condition)) {                                                                               \
            if (ensign_now_ms() > end_) fail_msg("in vain: %s", #condition);                                 \
            turn();                                                                                          \
        }                                                                                                    \
    } while (0)

/* ------------------------------------------------------------------ the client */
/* All are held but the one that is waited for: a notice of another one would end each wait at once. */
static uint32_t hold(uint32_t handle)
{
    assert_int_equal(ensign_hold(client, handle, true), ENSIGN_OK);
    return handle;
}

static const ensign_notice_t *next(uint32_t handle, ensign_notice_type_t type)
{
    const ensign_notice_t *n = NULL;

    assert_int_equal(ensign_hold(client, handle, false), ENSIGN_OK);
    do until((n = ensign_next_of(client, handle)) != NULL);
    while (n->type == ENSIGN_NOTICE_WAITING || n->type == ENSIGN_NOTICE_HEADERS);
    if (!n->last) hold(handle);
    if (n->type != type)
        fail_msg("%s, not %s: %s", ensign_notice_name(n->type), ensign_notice_name(type),
                 n->error ? n->error->text : "");
    return n;
}

static ensign_call_desc_t a_call(const char *method)
{
    ensign_call_desc_t d;
    memset(&d, 0, sizeof d);
    d.method = method;
    d.request = ensign_str("text");
    return d;
}

static void ask(unsigned number)
{
    ensign_call_desc_t d = a_call("/test.Service/Unary");
    const ensign_notice_t *n;

    d.unary = true;
    n = next(hold(ensign_call_open(client, &d).id), ENSIGN_NOTICE_REPLY);
    if (n->error) fail_msg("%s", n->error->text);
    assert_int_equal(n->as.reply.message.len, 4);
    assert_int_equal(server.streams[server.stream_count - 1]->conn->number, number);
}

/* A call that the server has begun to answer, and goes on. */
static uint32_t long_call(stream_t **s)
{
    ensign_call_desc_t d = a_call("/test.Service/Stream");
    uint32_t k = hold(ensign_call_open(client, &d).id);
    size_t before = server.stream_count;

    until(server.stream_count > before && server.streams[before]->headers);
    *s = server.streams[before];
    peer_message(*s, "go", 2);
    (void)next(k, ENSIGN_NOTICE_MESSAGE);
    return k;
}

static void goaway(conn_t *c)
{
    conn_goaway(c, nghttp2_session_get_last_proc_stream_id(c->session), NGHTTP2_NO_ERROR,
                text_slice("max_age"));
}

/* How many of the client's sockets its loop has to watch; those that are about to close are counted apart. */
static int watched(int *gone)
{
    ensign_poll_t set[ENSIGN_MAX_FDS];
    int n = ensign_poll_set(client, set), live = 0;

    *gone = 0;
    for (int i = 0; i < n; i++) {
        assert_true(set[i].fd >= 0);
        for (int k = 0; k < i; k++) assert_true(set[k].fd != set[i].fd && set[k].serial != set[i].serial);
        if (set[i].want == ENSIGN_GONE) ++*gone;
        else live++;
    }
    return live;
}

static void begin_with(bool tls)
{
    ensign_desc_t d;
    ensign_error_t why;
    char endpoint[32];

    memset(&server, 0, sizeof server);
    if (tls) server_use_tls();
    server_listen();
    memset(&d, 0, sizeof d);
    snprintf(endpoint, sizeof endpoint, "127.0.0.1:%d", server.port);
    d.endpoint = endpoint;
    d.tls.off = !tls;
    d.tls.ca_pem = ensign_str(server.cert.pem);
    d.backoff_min_ms = d.backoff_max_ms = 10;
    assert_int_equal(ensign_create(&d, &client, &why), ENSIGN_OK);
    hold(ENSIGN_CLIENT);
    (void)next(ENSIGN_CLIENT, ENSIGN_NOTICE_CONNECTED);
}

static int begin(void **state)
{
    (void)state;
    begin_with(false);
    return 0;
}

static int begin_tls(void **state)
{
    (void)state;
    begin_with(true);
    return 0;
}

static int end(void **state)
{
    (void)state;
    ensign_destroy(client);
    client = NULL;
    for (size_t i = 0; i < server.count; i++) server_close(i);
    for (size_t i = 0; i < server.count; i++) conn_free(&server.conns[i]);
    for (size_t i = 0; i < server.stream_count; i++) stream_free(server.streams[i]);
    if (server.listener >= 0) close(server.listener);
    if (!server.tls) return 0;
    mbedtls_ssl_config_free(&server.config);
    mbedtls_x509_crt_free(&server.chain);
    certs_free(&server.cert);
    return 0;
}

/* ------------------------------------------------------------------ the tests */
static void calls_go_on_beside_a_long_one(void **state)
{
    stream_t *s;
    uint32_t k = long_call(&s);
    int gone;

    (void)state;
    assert_int_equal(watched(&gone), 1);
    goaway(&server.conns[0]);
    (void)next(ENSIGN_CLIENT, ENSIGN_NOTICE_GOAWAY);
    (void)next(ENSIGN_CLIENT, ENSIGN_NOTICE_CONNECTED);
    for (int i = 0; i < 20; i++) ask(1);
    assert_int_equal(watched(&gone), 2);
    peer_message(s, "on", 2);
    (void)next(k, ENSIGN_NOTICE_MESSAGE);
    peer_finish(s, 0, NULL, NULL);
    assert_null(next(k, ENSIGN_NOTICE_END)->error);
    until(server.fds[0] < 0);
    ask(1);
    assert_int_equal(watched(&gone), 1);
    assert_null(ensign_next_of(client, ENSIGN_CLIENT));
    assert_int_equal(server.count, 2);
}

/* It closes its port, and waits for its streams; then its successor has the port. */
static void a_server_that_stops_in_good_order(void **state)
{
    uint32_t watch = hold(ensign_health(client, "", true, NULL).id);
    static const uint8_t serving[] = { 8, ENSIGN_HEALTH_SERVING };

    (void)state;
    until(server.stream_count == 1 && server.streams[0]->half_closed);
    peer_message(server.streams[0], serving, sizeof serving);
    (void)next(watch, ENSIGN_NOTICE_HEALTH);
    close(server.listener);
    server.listener = -1;
    goaway(&server.conns[0]);
    until(server.fds[0] < 0);
    server_listen();
    until(server.stream_count == 2 && server.streams[1]->half_closed);
    peer_message(server.streams[1], serving, sizeof serving);
    (void)next(watch, ENSIGN_NOTICE_HEALTH);
    assert_int_equal(server.streams[1]->conn->number, 1);
}

static void closing_with_two(void **state)
{
    stream_t *s[2];
    uint32_t k[2];
    int gone;

    (void)state;
    k[0] = long_call(&s[0]);
    goaway(&server.conns[0]);
    (void)next(ENSIGN_CLIENT, ENSIGN_NOTICE_GOAWAY);
    (void)next(ENSIGN_CLIENT, ENSIGN_NOTICE_CONNECTED);
    k[1] = long_call(&s[1]);
    assert_int_equal(watched(&gone), 2);
    assert_int_equal(ensign_close(client, ENSIGN_CLIENT, 0), ENSIGN_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(next(k[i], ENSIGN_NOTICE_END)->error->code, ENSIGN_E_CANCELLED);
    (void)next(ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED);
    until(server.fds[0] < 0 && server.fds[1] < 0);
    assert_true(server.conns[1].client_goaway);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(calls_go_on_beside_a_long_one, begin, end),
        cmocka_unit_test_setup_teardown(a_server_that_stops_in_good_order, begin, end),
        cmocka_unit_test_setup_teardown(closing_with_two, begin, end),
        { "calls_go_on_beside_a_long_one, TLS", calls_go_on_beside_a_long_one, begin_tls, end, NULL },
        { "a_server_that_stops_in_good_order, TLS", a_server_that_stops_in_good_order, begin_tls, end, NULL },
        { "closing_with_two, TLS", closing_with_two, begin_tls, end, NULL },
    };
    return cmocka_run_group_tests_name("goaway", tests, NULL, NULL);
}
