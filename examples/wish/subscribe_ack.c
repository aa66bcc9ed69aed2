/* subscribe_ack.c - receive the events of topics and ack each one
 * Shows   the shortest subscriber: one loop over ensign_await; what OPEN tells; why nothing comes; gaps
 * Run     build/examples/subscribe_ack 5 weather forecast          (ends after five events)
 * Prints  the data of each event on standard output, what happens to the stream on standard error
 * Next    query.c */
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include <stdio.h>
#include <stdlib.h>

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

int main(int argc, char **argv)
{
    ensign_desc_t desc = { 0 };
    ensign_subscription_desc_t stream = { 0 };
    const ensign_notice_t *n;
    ensign_subscription_t sub;
    ensign_error_t why;
    ensign_t *c;
    unsigned long left = argc > 2 ? strtoul(argv[1], NULL, 10) : 0;

    if (left == 0) return fprintf(stderr, "usage: subscribe_ack COUNT TOPIC...\n"), 2;
    if (ensign_desc_env(&desc, &why) != ENSIGN_OK) return fail(&why);
    if (ensign_create(&desc, &c, &why) != ENSIGN_OK) return fail(&why);
    stream.topics = (const char *const *)argv + 2;
    stream.topic_count = (size_t)(argc - 2);
    sub = ensign_subscription_open(c, &stream);
    do {
        if (ensign_await(c, sub.id, -1, &n) != ENSIGN_OK) return fail(ensign_error(c));
        switch (n->type) {
        case ENSIGN_NOTICE_OPEN:
            print_open(c, sub.id, ENSIGN_OPEN_TOPICS, "open:");
            print_open(c, sub.id, ENSIGN_OPEN_MISSING, "there is no topic");
            break;
        case ENSIGN_NOTICE_EVENT:
            printf("%.*s\n", (int)n->as.event->data.len, (const char *)n->as.event->data.ptr);
            fflush(stdout);
            ensign_ack(c, sub, n->as.event->token); /* E_STALE here only means an old token */
            if (--left == 0) ensign_close(c, sub.id, 2000); /* sends the acks that wait, then END */
            break;
        case ENSIGN_NOTICE_WAITING: fail(n->error); break; /* it goes on by itself */
        case ENSIGN_NOTICE_GAP: fail(n->error); break;     /* events can be missing here */
        default: break;
        }
    } while (left > 0 && !n->last);
    if (n->last && n->error) return fail(n->error);
    while (!n->last)
        if (ensign_await(c, sub.id, -1, &n) != ENSIGN_OK) return fail(ensign_error(c));
    ensign_destroy(c);
    return left > 0;
}
