/* forward.c - forward one topic to another, and ack each event once it is stored on the other side
 * Shows   a subscription and a publisher on one connection; the token as tag; back-pressure by ensign_hold
 * Run     build/examples/forward weather archive        (-n N ends after N events, ^C at any time)
 * Prints  how many went over and were acked, how often there was no room; exit 0 when all are stored there
 * Next    credentials.c */
#define _POSIX_C_SOURCE 200809L
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t stopped;

static struct {
    ensign_t             *c;
    ensign_subscription_t in;
    ensign_publisher_t    out;
    const ensign_event_t *waiting; /* has found no room; it stands as long as `in` is held */
    unsigned long taken, stored, acked, full, limit;
} f;

static void stop(int signal_number)
{
    (void)signal_number;
    stopped = 1;
}

static int fail(const char *what, const ensign_error_t *e)
{
    fprintf(stderr, "forward: %s: %s\n", what, e->text);
    return 1;
}

/* Publishes an event as it came. What finds no room waits, and what is behind it stays at the server. */
static void forward(const ensign_event_t *event)
{
    ensign_event_t e = *event;
    int rc;

    e.tag = event->token; /* its answer tells by this which event to ack */
    rc = ensign_publish(f.c, f.out, &e);
    if (rc < 0) fail("publish", ensign_error(f.c)), ensign_nack(f.c, f.in, e.token, ENSIGN_NACK_UNPROCESSED);
    f.full += rc == ENSIGN_AGAIN && !f.waiting;
    f.taken += rc == ENSIGN_OK;
    f.waiting = rc == ENSIGN_AGAIN ? event : NULL;
    ensign_hold(f.c, f.in.id, f.waiting != NULL);
    if (f.limit > 0 && f.taken == f.limit) stopped = 1;
}

/* What came. 0: go on, 1: it has ended well, -1: it has ended with an error. */
static int take(const ensign_notice_t *n)
{
    switch (n->type) {
    case ENSIGN_NOTICE_EVENT: forward(n->as.event); break;
    case ENSIGN_NOTICE_ROOM: if (f.waiting) forward(f.waiting); break;
    case ENSIGN_NOTICE_ACK: /* E_STALE: the stream that brought the event is gone */
        f.stored++, f.acked += ensign_ack(f.c, f.in, n->as.ack.tag) == ENSIGN_OK;
        break;
    case ENSIGN_NOTICE_NACK: /* not acked, so a service that delivers again can do it */
        fail("nack", n->error);
        ensign_nack(f.c, f.in, n->as.nack.tag, ENSIGN_NACK_UNPROCESSED);
        break;
    case ENSIGN_NOTICE_OPEN: fprintf(stderr, "forward: %s\n", n->handle == f.in.id ? "in" : "out"); break;
    case ENSIGN_NOTICE_GAP: fail("events may be missing here", n->error); break;
    case ENSIGN_NOTICE_WAITING: fail("waits, goes on trying", n->error); break;
    case ENSIGN_NOTICE_DRAINED: ensign_close(f.c, ENSIGN_CLIENT, 2000); break; /* all is answered */
    case ENSIGN_NOTICE_CLOSED: return 1;
    case ENSIGN_NOTICE_FAILED: return fail("failed", n->error), -1;
    case ENSIGN_NOTICE_END: return n->error ? fail("ended", n->error), -1 : 0;
    default: break;
    }
    return 0;
}

static int open_both(const char *from, const char *to)
{
    static ensign_subscription_desc_t sd; /* zeroed: every field has its default */
    static ensign_publisher_desc_t pd;

    sd.topics = &from, sd.topic_count = 1;
    sd.ensure_topics = pd.ensure_topic = true;
    sd.max_unacked = 16384; /* more than can wait for an answer, or a token would be forgotten before it */
    pd.topic = to;
    pd.buffer_bytes = 16384; /* small, so that a slow way out is felt at once: nothing piles up here */
    f.in = ensign_subscription_open(f.c, &sd);
    f.out = ensign_publisher_open(f.c, &pd);
    return f.in.id == 0 || f.out.id == 0 ? fail("open", ensign_error(f.c)) : 0;
}

int main(int argc, char **argv)
{
    static ensign_desc_t d;
    static struct sigaction act;
    const ensign_notice_t *n;
    ensign_error_t why;
    bool draining = false;
    int end = 0;

    if (argc == 5 && strcmp(argv[1], "-n") == 0) f.limit = strtoul(argv[2], NULL, 10);
    if (argc != 3 && f.limit == 0) return fprintf(stderr, "usage: forward [-n N] FROM TO\n"), 2;
    act.sa_handler = stop;
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    if (ensign_desc_env(&d, &why) != ENSIGN_OK) return fail("environment", &why);
    if (ensign_create(&d, &f.c, &why) != ENSIGN_OK) return fail("create", &why);
    if (open_both(argv[argc - 2], argv[argc - 1]) != 0) return 1;
    while (end == 0) {
        if (stopped && !draining) { /* no more in, and then out what was taken */
            draining = ensign_hold(f.c, f.in.id, true) == ENSIGN_OK;
            f.waiting = NULL;
            ensign_publisher_drain(f.c, f.out, 30000);
        }
        if (ensign_wait(f.c, NULL, 0, 1000) < 0) return fail("wait", ensign_error(f.c));
        while (end == 0 && !(stopped && !draining) && (n = ensign_next(f.c)) != NULL) end = take(n);
    }
    printf("%lu forwarded, %lu acked, no room %lu times\n", f.stored, f.acked, f.full);
    ensign_destroy(f.c);
    return end < 0 || f.stored < f.taken ? 1 : 0;
}
