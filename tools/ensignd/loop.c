/* loop.c - see loop.h */
#include "loop.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int spare_fd = -1;       /* for accept_from */

void loop_add(loop_t *l, watch_t *w, int fd, short want, void (*ready)(void *, short), void *owner)
{
    memset(w, 0, sizeof *w);
    w->fd = fd;
    w->want = want;
    w->ready = ready;
    w->owner = owner;
    w->next = l->first;
    l->first = w;
}

void loop_remove(watch_t *w)
{
    w->gone = true;
    w->want = 0;
}

void loop_sweep(loop_t *l)
{
    watch_t **at = &l->first;
    while (*at) {
        if ((*at)->gone) *at = (*at)->next;
        else at = &(*at)->next;
    }
}

static size_t fill_set(loop_t *l)
{
    size_t n = 0;

    for (watch_t *w = l->first; w; w = w->next) {
        if (n == l->cap) {
            l->cap = l->cap ? 2 * l->cap : 64;
            l->set = x_realloc(l->set, l->cap * sizeof *l->set);
        }
        w->slot = n;
        l->set[n].fd = w->want ? w->fd : -1;    /* a closed peer would else report HUP for ever */
        l->set[n].events = w->want;
        l->set[n].revents = 0;
        n++;
    }
    return n;
}

bool loop_turn(loop_t *l, int timeout_ms)
{
    size_t n;

    loop_sweep(l);
    n = fill_set(l);
    if (poll(l->set, (nfds_t)n, timeout_ms) < 0) return errno == EINTR || errno == EAGAIN;
    /* What a ready function adds stands in front of `w` and has no slot yet. */
    for (watch_t *w = l->first; w; w = w->next)
        if (!w->gone && w->slot < n && l->set[w->slot].revents) w->ready(w->owner, l->set[w->slot].revents);
    return true;
}

void loop_free(loop_t *l)
{
    free(l->set);
    memset(l, 0, sizeof *l);
    if (spare_fd >= 0) close(spare_fd);
    spare_fd = -1;
}

bool set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    char port[16];

    if (getsockname(fd, (struct sockaddr *)&a, &len) != 0) return 0;
    if (getnameinfo((struct sockaddr *)&a, len, NULL, 0, port, sizeof port, NI_NUMERICSERV) != 0) return 0;
    return (uint16_t)strtoul(port, NULL, 10);
}

int listen_on(const char *address, uint16_t port, uint16_t *bound, why_t *why)
{
    struct addrinfo hints, *found = NULL;
    char service[16];
    int fd, rc, on = 1;

    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
    snprintf(service, sizeof service, "%u", (unsigned)port);
    rc = getaddrinfo(address, service, &hints, &found);
    if (rc != 0) {
        fail(why, "--listen %s is no IP address (%s); give one such as 127.0.0.1 or ::1", address,
             gai_strerror(rc));
        return -1;
    }
    fd = socket(found->ai_family, SOCK_STREAM, 0);
    /* A restart on the same ports must not wait for old connections to time out. */
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 128) != 0 || !set_nonblocking(fd)) {
        fail(why, "cannot listen on %s port %u: %s; choose another port, or 0 to let the system choose",
             address, (unsigned)port, strerror(errno));
        if (fd >= 0) close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    if (fd >= 0) *bound = bound_port(fd);
    if (spare_fd < 0) spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd;
}

/* Left by a server that was killed: nobody listens there. */
static bool is_stale(const struct sockaddr_un *a)
{
    struct stat file;
    int fd;
    bool stale;

    if (lstat(a->sun_path, &file) != 0 || !S_ISSOCK(file.st_mode)) return false;
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    stale = fd >= 0 && connect(fd, (const struct sockaddr *)a, sizeof *a) != 0 && errno == ECONNREFUSED;
    if (fd >= 0) close(fd);
    return stale;
}

/* The file is for its owner alone, as the data folder is. */
static bool bind_unix(int fd, const struct sockaddr_un *a)
{
    mode_t before = umask(077);
    bool ok = bind(fd, (const struct sockaddr *)a, sizeof *a) == 0;

    (void)umask(before);
    return ok;
}

int listen_unix(const char *path, why_t *why)
{
    struct sockaddr_un a;
    size_t len = strlen(path);
    int fd;

    memset(&a, 0, sizeof a);
    a.sun_family = AF_UNIX;
    if (len >= sizeof a.sun_path) {
        fail(why, "--unix names a path of %lu bytes; give one of at most %lu", (unsigned long)len,
             (unsigned long)sizeof a.sun_path - 1);
        return -1;
    }
    memcpy(a.sun_path, path, len);
    if (is_stale(&a)) (void)unlink(path);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || !bind_unix(fd, &a) || listen(fd, 128) != 0 || !set_nonblocking(fd)) {
        fail(why, "cannot listen on --unix %s: %s; choose a name that is not in use, in a folder that is "
             "there", path, strerror(errno));
        if (fd >= 0) close(fd);
        fd = -1;
    }
    return fd;
}

/* With no descriptor left, the client is turned away by means of the spare one: in the queue it would wait
   without a word, and poll would report it without end. */
int accept_from(int listen_fd)
{
    int fd = accept(listen_fd, NULL, NULL);

    if (fd >= 0 || (errno != EMFILE && errno != ENFILE) || spare_fd < 0) return fd;
    close(spare_fd);
    fd = accept(listen_fd, NULL, NULL);
    if (fd >= 0) close(fd);
    spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    log_line("no descriptor is left: a connection is turned away; raise ulimit -n, or close some");
    return -1;
}
