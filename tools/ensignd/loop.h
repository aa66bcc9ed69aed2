/* loop.h - one poll loop: descriptors with a function to call when they are ready
 *
 * A watch stays where it is until its owner removes it; removing inside a ready function is fine: it is
 * unlinked by the sweep between two turns. */
#ifndef ENSIGND_LOOP_H
#define ENSIGND_LOOP_H
#include "util.h"
#include <poll.h>

typedef struct watch_t watch_t;
struct watch_t {
    int      fd;
    short    want;                              /* POLLIN, POLLOUT; 0: not now */
    void   (*ready)(void *owner, short got);
    void    *owner;
    watch_t *next;
    size_t   slot;
    bool     gone;
};

typedef struct loop_t {
    watch_t       *first;
    struct pollfd *set;
    size_t         cap;
} loop_t;

void loop_add(loop_t *l, watch_t *w, int fd, short want, void (*ready)(void *, short), void *owner);
void loop_remove(watch_t *w);                   /* the watch's memory must live until the next sweep */
bool loop_turn(loop_t *l, int timeout_ms); /* waits, then calls what is ready; false: poll itself failed */
void loop_sweep(loop_t *l);                      /* unlinks what was removed: its memory may go then */
void loop_free(loop_t *l);

bool set_nonblocking(int fd);
int  listen_on(const char *address, uint16_t port, uint16_t *bound, why_t *why);    /* a socket, or -1 */
int  listen_unix(const char *path, why_t *why); /* the same, at a Unix socket; a stale file is replaced */
int  accept_from(int listen_fd);                 /* a socket, or -1: no more for now */
#endif
