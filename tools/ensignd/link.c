/* link.c - see link.h */
#include "link.h"
#include "loop.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CIPHER_READ 65536

static void name_peer(link_t *l)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    char host[46], port[8];

    if (getpeername(l->fd, (struct sockaddr *)&a, &len) != 0) return;
    if (a.ss_family == AF_UNIX) {
        snprintf(l->peer, sizeof l->peer, "unix socket %d", l->fd);
        return;
    }
    if (getnameinfo((struct sockaddr *)&a, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    snprintf(l->peer, sizeof l->peer, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

bool link_open(link_t *l, int fd, tls_server_t *tls)
{
    int on = 1;

    memset(l, 0, sizeof *l);
    l->fd = fd;
    if (!set_nonblocking(fd)) return false;
    /* Output is batched by us; Nagle would only hold back the last piece of each turn. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    name_peer(l);
    l->up = tls == NULL;
    if (tls) l->tls = tls_open(tls, &l->rx, &l->tx);
    return !tls || l->tls;
}

static int socket_read(link_t *l, uint8_t *out, size_t cap)
{
    ssize_t n = recv(l->fd, out, cap, 0);
    if (n > 0) return (int)n;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return 0;
    l->lost = true;
    return -1;
}

/* One step of TLS: handshake or a record's bytes. > 0 bytes, 0 needs more ciphertext, -1 over. */
static int tls_step(link_t *l, uint8_t *out, size_t cap)
{
    if (!l->up) {
        int rc = tls_handshake(l->tls);
        if (rc <= 0) return rc;
        l->up = true;
    }
    return tls_read(l->tls, out, cap);
}

int link_read(link_t *l, uint8_t *out, size_t cap)
{
    size_t got = 0;
    int n;

    if (!l->tls) return socket_read(l, out, cap);
    while (got < cap) {
        n = tls_step(l, out + got, cap - got);
        if (n > 0) {
            got += (size_t)n;
            continue;
        }
        if (n < 0) {
            l->lost = true;
            return got ? (int)got : -1;
        }
        n = socket_read(l, buf_room(&l->rx, CIPHER_READ), CIPHER_READ);
        if (n <= 0) return got ? (int)got : n;
        l->rx.end += (size_t)n;
    }
    return (int)got;
}

size_t link_room(const link_t *l)
{
    size_t waiting = buf_len(&l->tx);
    if (!l->up || l->lost || waiting >= LINK_BACKLOG) return 0;
    return LINK_BACKLOG - waiting;
}

void link_write(link_t *l, const uint8_t *p, size_t n)
{
    if (l->lost) return;
    if (!l->tls) buf_put(&l->tx, p, n);
    else if (!tls_write(l->tls, p, n)) l->lost = true;
}

/* Its end is sent behind the last byte: the reset that unread input causes must not overtake it. */
void link_cut(link_t *l)
{
    log_line("%s: cut on purpose", l->peer);
    (void)shutdown(l->fd, SHUT_WR);
    l->lost = true;
}

static void count_sent(link_t *l, size_t n)
{
    buf_take(&l->tx, n);
    if (l->cut_left == 0) return;
    l->cut_left -= n;
    if (l->cut_left == 0) link_cut(l);
}

void link_flush(link_t *l)
{
    while (!l->lost && buf_len(&l->tx)) {
        size_t some = buf_len(&l->tx);
        ssize_t n;
        if (l->cut_left && l->cut_left < some) some = (size_t)l->cut_left;
        n = send(l->fd, l->tx.ptr + l->tx.start, some, MSG_NOSIGNAL);
        if (n > 0) count_sent(l, (size_t)n);
        else if (errno == EAGAIN || errno == EWOULDBLOCK) return;
        else if (errno != EINTR) l->lost = true;
    }
}

bool link_wants_write(const link_t *l)
{
    return !l->lost && buf_len(&l->tx) > 0;
}

void link_close(link_t *l)
{
    if (l->tls && !l->lost) {
        tls_bye(l->tls);
        link_flush(l);
    }
    tls_close(l->tls);
    l->tls = NULL;
    if (l->fd >= 0) close(l->fd);
    l->fd = -1;
    buf_free(&l->rx);
    buf_free(&l->tx);
}
