/* subscribe_ack.c - receive the events of topics and ack each one
 * Shows   the shortest subscriber: one loop over ensign_wait, which ^C ends; what OPEN tells; why nothing
 *         comes; gaps
 * Run     build/examples/subscribe_ack 5 weather forecast          (ends after five events, or on ^C)
 * Prints  the data of each event on standard output, what happens to the stream on standard error
 * Next    query.c */
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static volatile sig_atomic_t stopped;
static unsigned long left; /* events still to print */

static void stop(int signal_number)
{
    (void)signal_number;
    stopped = 1;
}

static int fail(const ensign_error_t *why)
{
    fprintf(stderr, "subscribe_ack: %s\n", why->text);
    return 1;
}

static void print_open(ensign_t *c, uint32_t handle, int which, const char *what)
{
    ensign_slice_t name;
    ensign_ulid_t id;
    size_t at = 0;

    while (ensign_open_next(c, handle, which, &at, &name, &id))
        fprintf(stderr, "subscribe_ack: %s %.*s\n", what, (int)name.len, (const char *)name.ptr);
}

/* What came of the subscription. */
static void take(ensign_t *c, ensign_subscription_t sub, const ensign_notice_t *n)
{
    switch (n->type) {
    case ENSIGN_NOTICE_OPEN:
        print_open(c, sub.id, ENSIGN_OPEN_TOPICS, "open:");
        print_open(c, sub.id, ENSIGN_OPEN_MISSING, "there is no topic");
        break;
    case ENSIGN_NOTICE_EVENT:
        if (left == 0 || stopped) break; /* what still comes while we close */
        printf("%.*s\n", (int)n->as.event->data.len, (const char *)n->as.event->data.ptr);
        fflush(stdout);
        ensign_ack(c, sub, n->as.event->token); /* E_STALE here only means an old token */
        left--;
        break;
    case ENSIGN_NOTICE_WAITING: fail(n->error); break; /* it goes on by itself */
    case ENSIGN_NOTICE_GAP: fail(n->error); break;     /* events can be missing here */
    case ENSIGN_NOTICE_END: if (n->error) fail(n->error); break;
    default: break;
    }
}

int main(int argc, char **argv)
{
    ensign_desc_t desc = { 0 };
    ensign_subscription_desc_t stream = { 0 };
    const ensign_notice_t *n;
    ensign_subscription_t sub;
    ensign_error_t why;
    ensign_t *c;
    bool closing = false, ended = false, failed = false;

    left = argc > 2 ? strtoul(argv[1], NULL, 10) : 0;
    if (left == 0) return fprintf(stderr, "usage: subscribe_ack COUNT TOPIC...\n"), 2;
    signal(SIGINT, stop);
    if (ensign_desc_env(&desc, &why) != ENSIGN_OK) return fail(&why);
    if (ensign_create(&desc, &c, &why) != ENSIGN_OK) return fail(&why);
    stream.topics = (const char *const *)argv + 2;
    stream.topic_count = (size_t)(argc - 2);
    sub = ensign_subscription_open(c, &stream);
    if (sub.id == 0) return fail(ensign_error(c));
    while (!ended) {
        if ((stopped || left == 0) && !closing) /* sends the acks that wait, then END */
            closing = ensign_close(c, sub.id, 2000) == ENSIGN_OK;
        if (ensign_wait(c, NULL, 0, 1000) < 0) return fail(ensign_error(c)); /* ^C ends it: INTERRUPTED */
        while (!ended && (n = ensign_next(c)) != NULL) {
            if (n->handle == ENSIGN_CLIENT) continue; /* WAITING tells of a lost connection, too */
            ended = n->last;
            failed = n->last && n->error;
            take(c, sub, n);
        }
    }
    ensign_destroy(c);
    return failed;
}
