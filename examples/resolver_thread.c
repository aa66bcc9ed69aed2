/* resolver_thread.c - call a server whose name is looked up in threads of this program's own
 * Shows   ENSIGN_IO_SOCKETS_NO_DNS: getaddrinfo may take many seconds, and the loop does not wait for it;
 *         a pipe that wakes the loop; ensign_resolved
 * Run     build/examples/resolver_thread /grpc.health.v1.Health/Check         (any method, an empty message)
 * Prints  the addresses of each name on standard error, the status of the call on standard output
 * Next    raii.cc */
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* One look-up of a name. Each link has at most one, so a slow one holds up no other link. From its start
 * until it is joined its thread owns all of it but `running`. */
typedef struct lookup_t {
    pthread_t thread;
    bool running;
    uint32_t attempt;           /* of the link, which asked for it */
    char host[256], text[ENSIGN_MAX_ADDRESSES][64];
    const char *addresses[ENSIGN_MAX_ADDRESSES];
    size_t count;
    int result;                 /* getaddrinfo's */
} lookup_t;

static lookup_t lookups[ENSIGN_MAX_LINKS];
static int ends[2];             /* a pipe: each thread writes the number of its link at its end */

static int fail(const char *why)
{
    fprintf(stderr, "resolver_thread: %s\n", why);
    return 1;
}

/* ---- in a thread */

static void *look_up(void *arg)
{
    lookup_t *l = (lookup_t *)arg;
    const unsigned char link = (unsigned char)(l - lookups);
    struct addrinfo hints, *all = NULL, *a;

    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    l->count = 0;
    l->result = getaddrinfo(l->host, NULL, &hints, &all);
    for (a = l->result == 0 ? all : NULL; a && l->count < ENSIGN_MAX_ADDRESSES; a = a->ai_next) {
        char *text = l->text[l->count];
        if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof l->text[0], NULL, 0, NI_NUMERICHOST) != 0)
            continue;
        l->addresses[l->count++] = text;
    }
    if (all) freeaddrinfo(all);
    if (write(ends[1], &link, 1) != 1) fail("the pipe is broken"); /* it has room for a byte of each link */
    return NULL;
}

/* ---- in the loop */

/* Starts a look-up for each link that wants one. While an old one runs, the link has to wait for its end. */
static void start_lookups(ensign_t *c)
{
    for (int i = 0; i < ENSIGN_MAX_LINKS; i++) {
        lookup_t *l = &lookups[i];
        ensign_link_t link;
        ensign_link(c, i, &link);
        if (link.todo != ENSIGN_LINK_RESOLVE || l->running) continue;
        l->attempt = link.attempt;
        snprintf(l->host, sizeof l->host, "%s", link.host); /* the link's may go before the thread ends */
        l->running = pthread_create(&l->thread, NULL, look_up, l) == 0;
        if (!l->running) /* a look-up that failed: the client tries again, after a backoff */
            ensign_resolved(c, i, link.attempt, NULL, 0, EAI_AGAIN);
    }
}

/* The thread of this link has come to its end. If the link has given up that attempt by now, for its time was
 * up, the answer is passed over, and start_lookups asks again. */
static void take_answer(ensign_t *c, unsigned char link)
{
    lookup_t *l = &lookups[link];

    pthread_join(l->thread, NULL);
    l->running = false;
    for (size_t i = 0; i < l->count; i++)
        fprintf(stderr, "resolver_thread: %s is %s\n", l->host, l->addresses[i]);
    if (l->result != 0) fprintf(stderr, "resolver_thread: %s: %s\n", l->host, gai_strerror(l->result));
    ensign_resolved(c, link, l->attempt, l->addresses, l->count, l->result);
}

/* One turn of the loop. ensign_wait would not do: it comes back for a notice, and a link asks without one. */
static bool turn(ensign_t *c)
{
    ensign_poll_t set[ENSIGN_MAX_FDS];
    struct pollfd fds[ENSIGN_MAX_FDS + 1];
    int count, rc;
    unsigned char link;

    start_lookups(c);
    count = ensign_poll_set(c, set);
    for (int i = 0; i < count; i++) {
        const int want = set[i].want;
        fds[i].fd = want & ENSIGN_GONE ? -1 : (int)set[i].fd;
        fds[i].events = (short)((want & ENSIGN_READ ? POLLIN : 0) | (want & ENSIGN_WRITE ? POLLOUT : 0));
        fds[i].revents = 0;
    }
    fds[count].fd = ends[0];
    fds[count].events = POLLIN;
    fds[count].revents = 0;
    (void)poll(fds, (nfds_t)count + 1, ensign_timeout(c, ensign_now_ms())); /* a signal is a turn, too */
    for (int i = 0; i < count; i++) {
        const int got = fds[i].revents;
        set[i].ready = (got & POLLIN ? ENSIGN_READ : 0) | (got & POLLOUT ? ENSIGN_WRITE : 0) |
                       (got & (POLLHUP | POLLERR) ? ENSIGN_HUP : 0);
    }
    rc = ensign_step(c, set, (size_t)count, ensign_now_ms());
    if (fds[count].revents && read(ends[0], &link, 1) == 1) take_answer(c, link);
    return rc == ENSIGN_OK;
}

/* getaddrinfo cannot be stopped: this may take as long as the system's resolver does. */
static void join_threads(void)
{
    for (int i = 0; i < ENSIGN_MAX_LINKS; i++)
        if (lookups[i].running) pthread_join(lookups[i].thread, NULL);
}

static int call(ensign_t *c, const char *method)
{
    ensign_call_desc_t desc = { 0 };
    const ensign_notice_t *n = NULL;
    ensign_call_t k;

    desc.method = method;
    desc.unary = true;
    desc.deadline_ms = 60000;
    k = ensign_call_open(c, &desc);
    if (k.id == 0) return fail(ensign_error(c)->text);
    while (!n) {
        if (!turn(c)) return fail(ensign_error(c)->text);
        do n = ensign_next(c);
        while (n && n->handle != k.id); /* the client's own notices say no more than the answer will */
    }
    if (n->error) return fail(n->error->text);
    printf("%s: OK, %u bytes\n", method, (unsigned)n->as.reply.message.len);
    return 0;
}

int main(int argc, char **argv)
{
    ensign_desc_t desc = { 0 };
    ensign_error_t why;
    ensign_t *c;
    int status;

    if (argc != 2) return fprintf(stderr, "usage: resolver_thread METHOD\n"), 2;
    if (ensign_desc_env(&desc, &why) != ENSIGN_OK) return fail(why.text);
    desc.io = ENSIGN_IO_SOCKETS_NO_DNS; /* nothing asks the resolver but start_lookups */
    if (pipe(ends) != 0) return fail("no pipe");
    if (ensign_create(&desc, &c, &why) != ENSIGN_OK) return fail(why.text);
    status = call(c, argv[1]);
    ensign_destroy(c); /* its connections end before the threads may */
    join_threads();
    return status;
}
