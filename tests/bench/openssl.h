/* openssl.h - the turn of client.c's loop where TLS is not ensign.h's: by OpenSSL, over a socket of our own
 *
 * The link's bytes go through the loop without sockets (tls.external), and OpenSSL encrypts them below. */
#ifndef BENCH_OPENSSL_H
#define BENCH_OPENSSL_H
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>

enum { SSL_BUDGET = 256 << 10 };    /* bytes that are read before notices are pulled */

static SSL *ssl;
static int ssl_socket = -1;

static void ssl_die(const char *what)
{
    fprintf(stderr, "client: OpenSSL: %s\n", what);
    exit(1);
}

/* Blocks until the connection is made and encrypted, to a port of this machine. name: which the certificate
 * must have. */
static void ssl_connect(const char *ca, const char *name, uint16_t port)
{
    static const unsigned char alpn[] = { 2, 'h', '2' };
    SSL_CTX *all = SSL_CTX_new(TLS_client_method());
    struct sockaddr_in to;
    int one = 1;

    memset(&to, 0, sizeof to);
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ssl_socket = socket(AF_INET, SOCK_STREAM, 0);
    if (ssl_socket < 0 || connect(ssl_socket, (struct sockaddr *)&to, sizeof to) != 0)
        ssl_die("no connection");
    (void)setsockopt(ssl_socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!all || SSL_CTX_load_verify_locations(all, ca, NULL) != 1) ssl_die("no trusted certificates");
    SSL_CTX_set_verify(all, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(all, SSL_MODE_ENABLE_PARTIAL_WRITE);
#ifdef SSL_OP_ENABLE_KTLS
    SSL_CTX_set_options(all, SSL_OP_ENABLE_KTLS);
#endif
    ssl = SSL_new(all);
    if (!ssl || SSL_set_fd(ssl, ssl_socket) != 1 || SSL_set_alpn_protos(ssl, alpn, sizeof alpn) != 0 ||
        SSL_set1_host(ssl, name) != 1 || SSL_connect(ssl) != 1)
        ssl_die("no handshake");
    if (fcntl(ssl_socket, F_SETFL, O_NONBLOCK) != 0) ssl_die("the socket blocks");
}

/* False: it is not the time for it; whatever else has happened ends the program. */
static bool ssl_moved(int n)
{
    int why = n > 0 ? SSL_ERROR_NONE : SSL_get_error(ssl, n);

    if (why != SSL_ERROR_NONE && why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
        ssl_die("the connection is lost");
    return n > 0;
}

/* True: some bytes could not be written. */
static bool ssl_move(ensign_t *c)
{
    const uint8_t *tx;
    uint8_t *rx;
    size_t n, read = 0;
    int some;

    while (read < SSL_BUDGET && (rx = ensign_rx_buf(c, ENSIGN_LINK_RPC, &n)) != NULL && n > 0 &&
           ssl_moved(some = SSL_read(ssl, rx, (int)n))) {
        (void)ensign_rx_ack(c, ENSIGN_LINK_RPC, (size_t)some, ensign_now_ms());
        read += (size_t)some;
    }
    while ((tx = ensign_tx_buf(c, ENSIGN_LINK_RPC, &n)) != NULL && n > 0) {
        if (!ssl_moved(some = SSL_write(ssl, tx, (int)n))) return true;
        (void)ensign_tx_ack(c, ENSIGN_LINK_RPC, (size_t)some);
    }
    return false;
}

/* Returns with a notice to pull. */
static void ssl_turn(ensign_t *c, const char *ca)
{
    static const char *const address = "127.0.0.1";
    ensign_link_t link;

    for (;;) {
        bool wants_write = false;
        (void)ensign_tick(c, ensign_now_ms());
        ensign_link(c, ENSIGN_LINK_RPC, &link);
        if (link.todo == ENSIGN_LINK_RESOLVE)
            (void)ensign_resolved(c, ENSIGN_LINK_RPC, link.attempt, &address, 1, 0);
        if (link.todo == ENSIGN_LINK_DIAL) {
            ssl_connect(ca, link.server_name, link.port);
            (void)ensign_link_up(c, ENSIGN_LINK_RPC, link.attempt, 0, ensign_now_ms());
        }
        if (ssl) wants_write = ssl_move(c);
        if (ensign_pending(c, 0)) return;
        if (ssl && SSL_pending(ssl) == 0) {
            struct pollfd p = { ssl_socket, (short)(POLLIN | (wants_write ? POLLOUT : 0)), 0 };
            (void)poll(&p, 1, ensign_timeout(c, ensign_now_ms()));
        }
    }
}
#endif
