/* sink.c - the server of the bench: sink.h behind sockets, in the clear or with TLS by OpenSSL
 *
 *   sink EVENTS BYTES [CERT.pem KEY.pem]
 *
 * It prints the port of 127.0.0.1 that it listens on, serves every client that comes, each subscriber with so
 * many events of so many bytes of data, and ends when the last client has gone. Then it prints a line of
 * JSON: the CPU time that it took, the events or acks that came, and the cipher of its last connection. */
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_MAX = 256 << 10,       /* bytes that are read at a time, */
    OUT_MAX = 256 << 10,        /* and frames that are made before they are written */
    OUT_HIGH = 4 << 20,         /* a client that has so much to read is not listened to */
    FIRST_MS = 60000            /* a server that no client comes to ends after so long */
};

typedef struct conn_t {
    int fd;
    SSL *tls;                   /* NULL: none */
    sink_t sink;
    bool wants_write;           /* what is in `out` did not fit */
} conn_t;

static SSL_CTX *tls;
static uint64_t all, messages;
static size_t bytes;
static char cipher[80] = "none";

/* ------------------------------------------------------------------ bytes */
/* What `tls` says that read and write would: bytes, or -1 with EAGAIN, or 0 at the end. */
static ssize_t tls_result(conn_t *c, int n)
{
    int why;

    if (n > 0) return n;
    why = SSL_get_error(c->tls, n);
    ERR_clear_error();
    errno = EAGAIN;
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? -1 : 0;
}

static ssize_t conn_read(conn_t *c, void *p, size_t n)
{
    if (c->tls) return tls_result(c, SSL_read(c->tls, p, (int)n));
    return recv(c->fd, p, n, 0);
}

static ssize_t conn_write(conn_t *c, const void *p, size_t n)
{
    if (c->tls) return tls_result(c, SSL_write(c->tls, p, (int)n));
    return send(c->fd, p, n, MSG_NOSIGNAL);
}

/* Reads what is there, up to READ_MAX; false: the client has gone. Whole records of TLS are taken, so what
 * poll says holds for them too. */
static bool conn_take(conn_t *c)
{
    sink_bytes_t *in = &c->sink.in;
    size_t total = 0;

    while (total < READ_MAX) {
        ssize_t n = conn_read(c, sink_room(in, READ_MAX), READ_MAX);

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
        if (n <= 0) return false;
        in->len += (size_t)n;
        total += (size_t)n;
        sink_take(&c->sink);
        if (!c->tls) return true;
    }
    return true;
}

/* Writes until there is no more, or it does not fit. */
static bool conn_give(conn_t *c)
{
    sink_bytes_t *out = &c->sink.out;

    for (c->wants_write = false;;) {
        ssize_t n;
        sink_fill(&c->sink, OUT_MAX);
        if (sink_left(out) == 0) return true;
        n = conn_write(c, out->p + out->at, sink_left(out));
        if (n < 0 && errno == EAGAIN) return c->wants_write = true;
        if (n <= 0) return false;
        out->at += (size_t)n;
    }
}

/* ------------------------------------------------------------------ connections */
static int choose_h2(SSL *ssl, const unsigned char **out, unsigned char *len, const unsigned char *in,
                     unsigned in_len, void *user)
{
    static const unsigned char h2[] = { 2, 'h', '2' };
    unsigned char *chosen;

    (void)ssl;
    (void)user;
    if (SSL_select_next_proto(&chosen, len, h2, sizeof h2, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static void tls_begin(const char *cert, const char *key)
{
    tls = SSL_CTX_new(TLS_server_method());
    if (!tls || SSL_CTX_use_certificate_chain_file(tls, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1)
        sink_die("the certificate or its key cannot be used");
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_alpn_select_cb(tls, choose_h2, NULL);
}

static void conn_open(conn_t *c, int fd)
{
    int one = 1;

    memset(c, 0, sizeof *c);
    c->fd = fd;
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0)
        sink_die("a socket cannot be set up");
    sink_begin(&c->sink, all, bytes);
    if (!tls) return;
    c->tls = SSL_new(tls);
    if (!c->tls || SSL_set_fd(c->tls, fd) != 1) sink_die("no TLS for a connection");
    SSL_set_accept_state(c->tls);
}

static void conn_close(conn_t *c)
{
    messages += c->sink.messages;
    if (c->tls) snprintf(cipher, sizeof cipher, "%s %s", SSL_get_version(c->tls), SSL_get_cipher(c->tls));
    SSL_free(c->tls);
    close(c->fd);
    sink_end(&c->sink);
}

/* One that TLS still holds back is none to write on: poll would say at once that it can be written. */
static bool conn_serve(conn_t *c, int events)
{
    if (events & (POLLIN | POLLHUP | POLLERR) && !conn_take(c)) return false;
    if (c->tls && !SSL_is_init_finished(c->tls)) return true;
    return conn_give(c);
}

/* ------------------------------------------------------------------ all of them */
static conn_t **conns;
static struct pollfd *polls;        /* the listening socket is the first one */
static size_t count, room;

static void take_in(int listening)
{
    int fd = accept(listening, NULL, NULL);

    if (fd < 0) return;
    if (count == room) {
        room = 2 * room + 16;
        conns = (conn_t **)realloc(conns, room * sizeof *conns);
        polls = (struct pollfd *)realloc(polls, (room + 1) * sizeof *polls);
        if (!conns || !polls) sink_die("out of memory");
    }
    conns[count] = (conn_t *)malloc(sizeof **conns);
    if (!conns[count]) sink_die("out of memory");
    conn_open(conns[count++], fd);
}

static void serve_all(int listening)
{
    for (bool any = false; count > 0 || !any;) {
        struct pollfd first = { listening, POLLIN, 0 }, *p = polls ? polls : &first;
        int n;

        p[0] = first;
        for (size_t i = 0; i < count; i++) {
            p[i + 1].fd = conns[i]->fd;
            p[i + 1].events = (short)((sink_left(&conns[i]->sink.out) > OUT_HIGH ? 0 : POLLIN) |
                                      (conns[i]->wants_write ? POLLOUT : 0));
            p[i + 1].revents = 0;
        }
        n = poll(p, (nfds_t)(count + 1), any ? -1 : FIRST_MS);
        if (n == 0) sink_die("no client has come");
        if (n < 0 && errno != EINTR) sink_die("poll failed");
        for (size_t i = count; i-- > 0;) {
            if (p[i + 1].revents == 0 || conn_serve(conns[i], p[i + 1].revents)) continue;
            conn_close(conns[i]);
            free(conns[i]);
            conns[i] = conns[--count];
        }
        if (p[0].revents) take_in(listening), any = true;
    }
}

static int listen_here(void)
{
    struct sockaddr_in here;
    socklen_t len = sizeof here;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(&here, 0, sizeof here);
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof here) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&here, &len) != 0)
        sink_die("no port of 127.0.0.1 can be listened on");
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    struct rusage u;

    if (argc != 3 && argc != 5) return fprintf(stderr, "usage: sink EVENTS BYTES [CERT.pem KEY.pem]\n"), 2;
    all = strtoull(argv[1], NULL, 10);
    bytes = strtoull(argv[2], NULL, 10);
    if (argc == 5) tls_begin(argv[3], argv[4]);
    signal(SIGPIPE, SIG_IGN);
    serve_all(listen_here());
    getrusage(RUSAGE_SELF, &u);
    printf("{\"cpu_ns\": %" PRIu64 ", \"messages\": %" PRIu64 ", \"cipher\": \"%s\"}\n",
           1000000000 * (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
               1000 * (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec),
           messages, cipher);
    return 0;
}
