/* relay.c - TLS in front of a server that speaks plaintext: mbedTLS on one side, a socket pair on the
   other */
#include "quarterdeck.h"
#include "link.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK 16384
#define RELAYS_MAX 256

typedef struct relay_t relay_t;
struct relay_t {
    relays_t *all;
    link_t    link;             /* the client */
    int       fd;               /* our end of the pair */
    buf_t     inward;           /* plaintext for the server, at most CHUNK */
    bool      server_done, dropped;
    watch_t   outer, inner;
    relay_t  *next;
};

struct relays_t {
    loop_t       *loop;
    watch_t       listener;
    tls_server_t *tls;
    bool        (*take)(void *user, int fd);
    void         *user;
    relay_t      *first;
    size_t        count;
};

static void relay_drop(relay_t *r)
{
    if (r->dropped) return;
    r->dropped = true;
    loop_remove(&r->outer);
    loop_remove(&r->inner);
    link_close(&r->link);
    close(r->fd);
    buf_free(&r->inward);
}

static void push_inward(relay_t *r)
{
    while (buf_len(&r->inward)) {
        ssize_t n = send(r->fd, r->inward.ptr + r->inward.start, buf_len(&r->inward), MSG_NOSIGNAL);
        if (n <= 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) r->server_done = true;
            return;
        }
        buf_take(&r->inward, (size_t)n);
    }
}

static void pull_inward(relay_t *r)
{
    while (buf_len(&r->inward) == 0 && !r->link.lost) {
        int n = link_read(&r->link, buf_room(&r->inward, CHUNK), CHUNK);
        if (n <= 0) return;
        r->inward.end += (size_t)n;
        push_inward(r);
    }
}

static void pull_outward(relay_t *r)
{
    uint8_t chunk[CHUNK];

    while (!r->server_done && link_room(&r->link) > CHUNK) {
        ssize_t n = recv(r->fd, chunk, sizeof chunk, 0);
        if (n > 0) link_write(&r->link, chunk, (size_t)n);
        else if (n == 0) r->server_done = true;
        else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return;
        else r->server_done = true;
    }
}

static void relay_move(void *owner, short got)
{
    relay_t *r = owner;
    (void)got;

    if (r->dropped) return;
    push_inward(r);
    pull_inward(r);
    pull_outward(r);
    link_flush(&r->link);
    if (r->link.lost || (r->server_done && !link_wants_write(&r->link))) {
        relay_drop(r);
        return;
    }
    r->outer.want =
        (short)((buf_len(&r->inward) == 0 ? POLLIN : 0) | (link_wants_write(&r->link) ? POLLOUT : 0));
    r->inner.want =
        (short)((r->link.up && !r->server_done ? POLLIN : 0) | (buf_len(&r->inward) ? POLLOUT : 0));
}

static void relay_new(relays_t *all, int fd)
{
    relay_t *r;
    int pair[2];

    if (all->count >= RELAYS_MAX || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) {
        close(fd);
        return;
    }
    r = x_alloc(sizeof *r);
    r->all = all;
    r->fd = pair[0];
    r->next = all->first;
    all->first = r;
    all->count++;
    loop_add(all->loop, &r->outer, fd, POLLIN, relay_move, r);
    loop_add(all->loop, &r->inner, pair[0], 0, relay_move, r);
    if (!link_open(&r->link, fd, all->tls) || !set_nonblocking(pair[0]) || !set_nonblocking(pair[1])) {
        close(pair[1]);
        relay_drop(r);
    } else if (!all->take(all->user, pair[1])) {
        relay_drop(r);
    }
}

static void on_accept(void *owner, short got)
{
    relays_t *r = owner;
    int fd;
    (void)got;
    while ((fd = accept_from(r->listener.fd)) >= 0) relay_new(r, fd);
}

relays_t *relays_open(loop_t *l, int listen_fd, tls_server_t *tls, bool (*take)(void *user, int fd),
                      void *user)
{
    relays_t *r = x_alloc(sizeof *r);

    r->loop = l;
    r->tls = tls;
    r->take = take;
    r->user = user;
    loop_add(l, &r->listener, listen_fd, POLLIN, on_accept, r);
    return r;
}

void relays_reap(relays_t *r)
{
    relay_t **at = &r->first;

    loop_sweep(r->loop);
    while (*at) {
        relay_t *x = *at;
        if (!x->dropped) {
            at = &x->next;
            continue;
        }
        *at = x->next;
        r->count--;
        free(x);
    }
}

void relays_close(relays_t *r)
{
    if (!r) return;
    for (relay_t *x = r->first; x; x = x->next) relay_drop(x);
    loop_remove(&r->listener);
    close(r->listener.fd);
    relays_reap(r);
    free(r);
}
