/* openssl.c - TLS by OpenSSL, and by the kernel (kTLS) where that can, over sockets of your own
 * Shows   tls.external: what a link needs of your TLS, and how its bytes go through it; a poll loop without
 *         ensign_poll_set. The certificate and its name are verified, and ALPN must agree on HTTP/2
 * Run     build/examples/openssl publish weather 1000 [BYTES]   (that many events, of so many bytes [100])
 *         build/examples/openssl subscribe weather 1000         (ends after so many)
 * Prints  what is done, the CPU time of each event, and which ways the kernel encrypts
 * Next    resolver_thread.c */
#define _POSIX_C_SOURCE 200809L
#define ENSIGN_IMPLEMENTATION
#define ENSIGN_NO_SOCKETS /* neither our sockets nor mbedTLS: it needs */
#define ENSIGN_NO_TLS     /* -lssl -lcrypto -lnghttp2 -lprotobuf-nanopb */
#include "../ensign.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct conn_t {
    int fd;                     /* -1: none */
    size_t address;             /* DIAL: which one of the link's is tried */
    SSL *ssl;                   /* NULL: the bytes go as they are */
    bool shaken;                /* the handshake of TLS is over */
    bool blocked;               /* nothing more can be written now */
    bool ended;
    int native;                 /* why, as ensign_link_down is told */
} conn_t;

static SSL_CTX *tls;
static conn_t conns[ENSIGN_MAX_LINKS];

static int fail(const char *why)
{
    fprintf(stderr, "openssl: %s\n", why);
    return 1;
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void conn_end(conn_t *k, int native)
{
    k->ended = true;
    k->native = native;
}

/* ---- TLS */

static bool tls_init(void)
{
    const char *ca = getenv("ENSIGN_CA_FILE");

    tls = SSL_CTX_new(TLS_client_method());
    if (!tls || SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1) return false;
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE);
#ifdef SSL_OP_ENABLE_KTLS
    SSL_CTX_set_options(tls, SSL_OP_ENABLE_KTLS);
#endif
    if (ca) return SSL_CTX_load_verify_locations(tls, ca, NULL) == 1;
    return SSL_CTX_set_default_verify_paths(tls) == 1;
}

/* The link says which name the certificate must have, and what to offer by ALPN. */
static bool tls_open(conn_t *k, const ensign_link_t *link)
{
    const char *name = link->server_name;
    unsigned char alpn[16];

    alpn[0] = (unsigned char)strlen(link->alpn);
    memcpy(alpn + 1, link->alpn, alpn[0]);
    k->ssl = SSL_new(tls);
    if (!k->ssl || SSL_set_fd(k->ssl, k->fd) != 1) return false;
    if (SSL_set_alpn_protos(k->ssl, alpn, alpn[0] + 1u) != 0) return false;
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(k->ssl), name) == 1) return true; /* it has no SNI */
    return SSL_set1_host(k->ssl, name) == 1 && SSL_set_tlsext_host_name(k->ssl, name) == 1;
}

/* Why OpenSSL has failed: an ENSIGN_E_x. Its own words go to standard error, once while they are the same. */
static int tls_reason(const conn_t *k)
{
    static const char *said;
    const long verified = SSL_get_verify_result(k->ssl);
    const char *words = ERR_reason_error_string(ERR_peek_error());

    if (verified != X509_V_OK) words = X509_verify_cert_error_string(verified);
    if (words && words != said) fail(words);
    said = words;
    if (verified == X509_V_ERR_HOSTNAME_MISMATCH || verified == X509_V_ERR_IP_ADDRESS_MISMATCH)
        return ENSIGN_E_HOSTNAME;
    return verified != X509_V_OK ? ENSIGN_E_CERTIFICATE : ENSIGN_E_TLS;
}

/* An operation of OpenSSL has moved nothing: it goes on when the socket is ready, or this is the end. */
static void tls_stop(conn_t *k, int rc)
{
    const int broken = errno ? errno : ECONNRESET;

    switch (SSL_get_error(k->ssl, rc)) {
    case SSL_ERROR_WANT_READ: break;
    case SSL_ERROR_WANT_WRITE: k->blocked = true; break;
    case SSL_ERROR_ZERO_RETURN: conn_end(k, 0); break;
    case SSL_ERROR_SYSCALL: conn_end(k, broken); break;
    default:
        if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) conn_end(k, ECONNRESET);
        else conn_end(k, tls_reason(k));
        ERR_clear_error(); /* SSL_get_error of another connection looks there, too */
    }
}

static void tls_shake(conn_t *k, const ensign_link_t *link)
{
    const unsigned char *alpn;
    unsigned len;
    int rc = 0;

    ERR_clear_error();
    if (!k->ssl && !tls_open(k, link)) conn_end(k, ENSIGN_E_TLS);
    else if ((rc = SSL_connect(k->ssl)) != 1) tls_stop(k, rc);
    if (rc != 1) return;
    k->shaken = true;
    SSL_get0_alpn_selected(k->ssl, &alpn, &len); /* the auth service may agree on nothing */
    if (strcmp(link->alpn, "h2") == 0 && (len != 2 || memcmp(alpn, "h2", 2) != 0)) conn_end(k, ENSIGN_E_ALPN);
}

static const char *tls_in_kernel(const conn_t *k)
{
    const bool out = k->ssl && BIO_get_ktls_send(SSL_get_wbio(k->ssl));
    const bool in = k->ssl && BIO_get_ktls_recv(SSL_get_rbio(k->ssl));
    return out && in ? "out and in" : out ? "out" : in ? "in" : "off";
}

/* ---- connections */

/* Returns how many bytes were moved; 0: none. */
static size_t conn_put(conn_t *k, const uint8_t *bytes, size_t n)
{
    const ssize_t rc = k->ssl ? SSL_write(k->ssl, bytes, (int)n) : send(k->fd, bytes, n, 0);

    if (rc > 0) return (size_t)rc;
    if (k->ssl) tls_stop(k, (int)rc);
    else if (errno == EAGAIN) k->blocked = true;
    else conn_end(k, errno);
    return 0;
}

static size_t conn_get(conn_t *k, uint8_t *bytes, size_t n)
{
    const ssize_t rc = k->ssl ? SSL_read(k->ssl, bytes, (int)n) : recv(k->fd, bytes, n, 0);

    if (rc > 0) return (size_t)rc;
    if (k->ssl) tls_stop(k, (int)rc);
    else if (rc == 0 || errno != EAGAIN) conn_end(k, rc == 0 ? 0 : errno);
    return 0;
}

/* Moves what can be moved. The link is asked before each step: where a proxy has answered, TLS begins. */
static void conn_move(ensign_t *c, int i, conn_t *k, bool readable)
{
    ensign_link_t link;
    const uint8_t *tx;
    uint8_t *rx;
    size_t n, moved;

    do {
        ensign_link(c, i, &link);
        if (link.todo != ENSIGN_LINK_RUN) return;
        if (link.server_name && !k->shaken) tls_shake(k, &link);
        if (k->ended || (link.server_name && !k->shaken)) return;
        while (!k->ended && !k->blocked && (tx = ensign_tx_buf(c, i, &n)) != NULL)
            ensign_tx_ack(c, i, conn_put(k, tx, n));
        rx = ensign_rx_buf(c, i, &n);
        moved = readable && !k->ended && rx ? conn_get(k, rx, n) : 0;
        if (moved > 0) ensign_rx_ack(c, i, moved, now_ms());
    } while (moved > 0);
}

static void conn_close(conn_t *k)
{
    if (k->ssl && k->shaken) SSL_shutdown(k->ssl);
    SSL_free(k->ssl);
    if (k->fd >= 0) close(k->fd);
    memset(k, 0, sizeof *k);
    k->fd = -1;
}

/* Begins to connect to an address, which is numeric. 0, or errno. */
static int conn_dial(conn_t *k, const char *address, uint16_t port)
{
    struct addrinfo hints, *a = NULL;
    char service[8];
    int on = 1, rc;

    memset(&hints, 0, sizeof hints);
    hints.ai_flags = AI_NUMERICHOST;
    hints.ai_socktype = SOCK_STREAM;
    snprintf(service, sizeof service, "%u", (unsigned)port);
    if (getaddrinfo(address, service, &hints, &a) != 0) return EADDRNOTAVAIL; /* as unix:/path is one */
    k->fd = socket(a->ai_family, a->ai_socktype, 0);
    if (k->fd >= 0) fcntl(k->fd, F_SETFL, O_NONBLOCK);
    if (k->fd >= 0) setsockopt(k->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    rc = k->fd >= 0 ? connect(k->fd, a->ai_addr, a->ai_addrlen) : -1;
    freeaddrinfo(a);
    return rc == 0 || errno == EINPROGRESS ? 0 : errno;
}

/* ---- what a link wants */

static void resolve(ensign_t *c, int i, const ensign_link_t *link)
{
    const char *addresses[ENSIGN_MAX_ADDRESSES];
    char text[ENSIGN_MAX_ADDRESSES][64];
    struct addrinfo hints, *all = NULL, *a;
    size_t count = 0;
    int rc;

    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    rc = getaddrinfo(link->host, NULL, &hints, &all); /* the loop waits for it */
    for (a = rc == 0 ? all : NULL; a && count < ENSIGN_MAX_ADDRESSES; a = a->ai_next) {
        char *at = text[count];
        if (getnameinfo(a->ai_addr, a->ai_addrlen, at, sizeof text[0], NULL, 0, NI_NUMERICHOST) == 0)
            addresses[count++] = at;
    }
    if (all) freeaddrinfo(all);
    ensign_resolved(c, i, link->attempt, addresses, count, rc);
}

/* Tries one address after the other. A program for hosts with IPv4 and IPv6 lets them race. */
static void dial(ensign_t *c, int i, const ensign_link_t *link, conn_t *k, bool ready)
{
    int error = 0;
    socklen_t len = sizeof error;
    size_t next = 0;

    if (k->fd >= 0) {
        if (!ready) return;
        if (getsockopt(k->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) error = errno;
        if (error == 0) {
            ensign_link_up(c, i, link->attempt, k->address, now_ms());
            return;
        }
        next = k->address + 1;
        conn_close(k);
    }
    for (; next < link->address_count; next++) {
        k->address = next;
        if ((error = conn_dial(k, link->addresses[next], link->port)) == 0) return;
        conn_close(k);
    }
    ensign_link_down(c, i, link->attempt, error, now_ms());
}

static void serve(ensign_t *c, int i, int ready)
{
    conn_t *k = &conns[i];
    ensign_link_t link;
    const uint8_t *tx;
    size_t n;

    ensign_link(c, i, &link);
    if (link.todo == ENSIGN_LINK_RESOLVE) resolve(c, i, &link), ensign_link(c, i, &link);
    if (link.todo == ENSIGN_LINK_DIAL) dial(c, i, &link, k, ready != 0), ensign_link(c, i, &link);
    if (ready & (POLLOUT | POLLERR | POLLHUP)) k->blocked = false;
    if (link.todo == ENSIGN_LINK_RUN) conn_move(c, i, k, ready != 0), ensign_link(c, i, &link);
    if (link.todo == ENSIGN_LINK_HANGUP && !k->ended && (tx = ensign_tx_buf(c, i, &n)) != NULL &&
        (link.server_name ? k->shaken : true)) /* the last words never go out without TLS */
        (void)conn_put(k, tx, n);
    if (k->ended || link.todo == ENSIGN_LINK_HANGUP) {
        const int native = k->native;
        conn_close(k);
        ensign_link_down(c, i, link.attempt, native, now_ms());
    }
}

/* One turn of the loop. */
static void turn(ensign_t *c)
{
    struct pollfd fds[ENSIGN_MAX_LINKS];
    ensign_link_t link;

    ensign_tick(c, now_ms());
    for (int i = 0; i < ENSIGN_MAX_LINKS; i++) serve(c, i, 0);
    for (int i = 0; i < ENSIGN_MAX_LINKS; i++) {
        ensign_link(c, i, &link);
        fds[i].fd = conns[i].fd;
        fds[i].events = link.todo == ENSIGN_LINK_DIAL ? POLLOUT : POLLIN;
        if (conns[i].blocked) fds[i].events |= POLLOUT;
        fds[i].revents = 0;
    }
    if (poll(fds, ENSIGN_MAX_LINKS, ensign_timeout(c, now_ms())) <= 0) return;
    for (int i = 0; i < ENSIGN_MAX_LINKS; i++)
        if (fds[i].revents) serve(c, i, fds[i].revents);
}

/* ---- what is done with it */

typedef struct job_t {
    ensign_publisher_t pub;     /* one of the two is open */
    ensign_subscription_t sub;
    ensign_event_t event;
    unsigned long count, sent, done;
    clock_t begin;              /* when the first event was done: connecting is not measured */
    bool over, failed;
} job_t;

static bool job_open(ensign_t *c, job_t *j, bool publishes, const char *topic)
{
    ensign_publisher_desc_t pub;
    ensign_subscription_desc_t sub;

    memset(&pub, 0, sizeof pub);
    memset(&sub, 0, sizeof sub);
    pub.topic = topic;
    pub.ensure_topic = true;
    sub.topics = &topic;
    sub.topic_count = 1;
    if (publishes) j->pub = ensign_publisher_open(c, &pub);
    else j->sub = ensign_subscription_open(c, &sub);
    return j->pub.id != 0 || j->sub.id != 0;
}

static void say_open(void)
{
    const conn_t *k = &conns[ENSIGN_LINK_RPC];

    if (!k->ssl) k = &conns[ENSIGN_LINK_RPC_2]; /* after a GOAWAY */
    fprintf(stderr, "openssl: open, %s, %s, kTLS %s\n", k->ssl ? SSL_get_version(k->ssl) : "plaintext",
            k->ssl ? SSL_get_cipher(k->ssl) : "no cipher", tls_in_kernel(k));
}

/* One more event is acked, or has come. */
static void job_count(ensign_t *c, job_t *j)
{
    double ns;

    if (j->done++ == 0) j->begin = clock();
    if (j->done != j->count) return;
    ns = (double)(clock() - j->begin) * (1e9 / CLOCKS_PER_SEC) / (double)(j->count > 1 ? j->count - 1 : 1);
    printf("%lu events %s, %.0f ns of CPU each\n", j->count, j->pub.id ? "acked" : "received", ns);
    ensign_close(c, ENSIGN_CLIENT, 5000);
}

static void job_fail(job_t *j, const ensign_error_t *why)
{
    j->over = j->failed = true;
    fail(why ? why->text : "ended");
}

static void job_take(ensign_t *c, job_t *j, const ensign_notice_t *n)
{
    switch (n->type) {
    case ENSIGN_NOTICE_OPEN: say_open(); break;
    case ENSIGN_NOTICE_ACK: job_count(c, j); break;
    case ENSIGN_NOTICE_EVENT:
        if (j->done < j->count && ensign_ack(c, j->sub, n->as.event->token) == ENSIGN_OK) job_count(c, j);
        break;
    case ENSIGN_NOTICE_WAITING: fail(n->error->text); break; /* it goes on, until it FAILED */
    case ENSIGN_NOTICE_CLOSED: j->over = true; break;
    case ENSIGN_NOTICE_NACK:
    case ENSIGN_NOTICE_FAILED: job_fail(j, n->error); break;
    case ENSIGN_NOTICE_END:
        if (j->done < j->count) job_fail(j, n->error);
        break;
    default: break;
    }
}

/* Publishes one event, and when that is acked as many as there is room for. */
static void job_publish(ensign_t *c, job_t *j)
{
    const unsigned long most = j->done > 0 ? j->count : 1;
    int rc = ENSIGN_OK;

    while (j->sent < most && (rc = ensign_publish(c, j->pub, &j->event)) == ENSIGN_OK) j->sent++;
    if (rc < 0) job_fail(j, ensign_error(c));
}

static int run(ensign_t *c, job_t *j)
{
    const ensign_notice_t *n;

    while (!j->over) {
        if (j->pub.id) job_publish(c, j);
        turn(c);
        while (!j->over && (n = ensign_next(c)) != NULL) job_take(c, j, n);
    }
    ensign_destroy(c);
    for (int i = 0; i < ENSIGN_MAX_LINKS; i++) conn_close(&conns[i]);
    return j->failed;
}

int main(int argc, char **argv)
{
    static ensign_desc_t d; /* zeroed: every field has its default */
    static job_t j;
    const bool publishes = argc > 1 && strcmp(argv[1], "publish") == 0;
    ensign_error_t why;
    ensign_t *c;
    char *data;
    int status;

    for (int i = 0; i < ENSIGN_MAX_LINKS; i++) conns[i].fd = -1;
    j.count = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    j.event.data.len = argc > 4 ? strtoul(argv[4], NULL, 10) : 100;
    if (j.count == 0 || argc > 5 || (!publishes && (argc > 4 || strcmp(argv[1], "subscribe") != 0)))
        return fprintf(stderr, "usage: openssl publish TOPIC COUNT [BYTES] | subscribe TOPIC COUNT\n"), 2;
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes to sockets that the server may have closed */
    if (!tls_init()) return fail("ENSIGN_CA_FILE, or OpenSSL itself, cannot be used");
    d.tls.external = d.auth_tls.external = true; /* before the environment is asked */
    d.io = ENSIGN_IO_CALLER;
    d.give_up_after_ms = 3000; /* of failing: else it would go on trying */
    if (ensign_desc_env(&d, &why) != ENSIGN_OK) return fail(why.text);
    if (ensign_create(&d, &c, &why) != ENSIGN_OK) return fail(why.text);
    if (!(data = calloc(1, j.event.data.len + 1))) return fail("no memory");
    j.event.data.ptr = memset(data, 'x', j.event.data.len);
    if (!job_open(c, &j, publishes, argv[2])) return fail(ensign_error(c)->text);
    status = run(c, &j);
    free(data);
    SSL_CTX_free(tls);
    return status;
}
