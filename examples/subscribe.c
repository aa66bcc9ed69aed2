/* subscribe.c - print the events of topics as they are published
 * Shows   a poll loop of your own: ensign_poll_set, ensign_timeout, ensign_step; acks; a clean end
 * Run     build/examples/subscribe weather          (-n N ends after N events, ^C at any time; publish.c
 *         makes the topic: one that does not exist ends the subscription)
 * Prints  each event on standard output, what happens to the connection on standard error
 * Next    query.c */
#define _POSIX_C_SOURCE 200809L
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t stopped;
static unsigned long left; /* events still to print; 0: no end */

static void stop(int signal_number)
{
    (void)signal_number;
    stopped = 1;
}

static int fail(const char *what, const ensign_error_t *e)
{
    fprintf(stderr, "subscribe: %s: %s\n", what, e ? e->text : "no reason was given");
    return 1;
}

/* One turn of the loop. Here stands what your program has instead: epoll, libuv, GLib. */
static int turn(ensign_t *c)
{
    ensign_poll_t set[ENSIGN_MAX_FDS];
    struct pollfd p[ENSIGN_MAX_FDS];
    int i, count = ensign_poll_set(c, set), due = ensign_timeout(c, ensign_now_ms());

    for (i = 0; i < count; i++) {
        p[i].fd = set[i].want & ENSIGN_GONE ? -1 : (int)set[i].fd; /* GONE: forget it, it is closed next */
        p[i].events = set[i].want & ENSIGN_READ ? POLLIN : 0;
        if (set[i].want & ENSIGN_WRITE) p[i].events |= POLLOUT;
        p[i].revents = 0;
    }
    if (due < 0 || due > 1000) due = 1000; /* a signal that comes just before poll is seen in a second */
    if (poll(p, (nfds_t)count, due) < 0) count = 0; /* EINTR: timers only */
    for (i = 0; i < count; i++) {
        if (p[i].revents & POLLIN) set[i].ready |= ENSIGN_READ;
        if (p[i].revents & POLLOUT) set[i].ready |= ENSIGN_WRITE;
        if (p[i].revents & (POLLERR | POLLHUP | POLLNVAL)) set[i].ready |= ENSIGN_HUP | ENSIGN_READ;
    }
    return ensign_step(c, set, (size_t)count, ensign_now_ms());
}

static void print_event(ensign_t *c, ensign_subscription_t s, const ensign_event_t *e)
{
    static char text[65536];

    if (ensign_event_text(e, text, sizeof text) < 0) return;
    puts(text);
    fflush(stdout);
    ensign_ack(c, s, e->token); /* handled; E_STALE here only means an old token */
    if (left > 0 && --left == 0) stopped = 1;
}

/* The topics that were asked for and are not there: a name with a typo would bring nothing, in silence. */
static void print_open(ensign_t *c, ensign_subscription_t s)
{
    ensign_slice_t name;
    ensign_ulid_t id;
    size_t at = 0;

    fprintf(stderr, "subscribe: open\n");
    while (ensign_open_next(c, s.id, ENSIGN_OPEN_MISSING, &at, &name, &id))
        fprintf(stderr, "subscribe: there is no topic %.*s\n", (int)name.len, (const char *)name.ptr);
}

/* What came. 0: go on, 1: it has ended well, -1: it has ended with an error. */
static int take(ensign_t *c, ensign_subscription_t s)
{
    const ensign_notice_t *n;

    while ((n = ensign_next(c)) != NULL) {
        if (n->type == ENSIGN_NOTICE_CLOSED) return 1;
        if (n->type == ENSIGN_NOTICE_FAILED) return fail("failed", n->error), -1;
        if (stopped) continue; /* what still comes while we close */
        if (n->type == ENSIGN_NOTICE_EVENT) print_event(c, s, n->as.event);
        if (n->type == ENSIGN_NOTICE_OPEN) print_open(c, s);
        if (n->type == ENSIGN_NOTICE_WAITING) fail("waits, goes on trying", n->error);
        if (n->type == ENSIGN_NOTICE_GAP) fail("events may be missing here", n->error);
        if (n->type == ENSIGN_NOTICE_DISCONNECTED) fail("disconnected, goes on trying", n->error);
        if (n->type == ENSIGN_NOTICE_END) return fail("ended", n->error), -1; /* refused for good */
    }
    return 0;
}

int main(int argc, char **argv)
{
    static ensign_desc_t d; /* zeroed: every field has its default */
    static ensign_subscription_desc_t sd;
    static struct sigaction act;
    static ensign_t *c;
    ensign_error_t why;
    ensign_subscription_t s;
    bool closing = false;
    int first = 1, end = 0;

    if (argc > 2 && strcmp(argv[1], "-n") == 0) left = strtoul(argv[2], NULL, 10), first = 3;
    if (argc <= first) return fprintf(stderr, "usage: subscribe [-n N] TOPIC...\n"), 2;
    act.sa_handler = stop;
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    if (ensign_desc_env(&d, &why) != ENSIGN_OK) return fail("environment", &why);
    if (ensign_create(&d, &c, &why) != ENSIGN_OK) return fail("create", &why);
    sd.topics = (const char *const *)argv + first;
    sd.topic_count = (size_t)(argc - first);
    s = ensign_subscription_open(c, &sd);
    if (s.id == 0) return fail("open", ensign_error(c));
    while (end == 0) { /* CLOSED ends it */
        if (stopped && !closing) closing = ensign_close(c, ENSIGN_CLIENT, 2000) == ENSIGN_OK;
        if (turn(c) < 0) return fail("step", ensign_error(c));
        end = take(c, s);
    }
    ensign_destroy(c);
    return end < 0 ? 1 : 0;
}
