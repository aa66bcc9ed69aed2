/* pump_sink.c - hand each event of a topic to a function, and answer the server as that function does
 * Shows   what PyEnsign's class Subscriber and its decorator @subscriber do, as a loop over the pull API
 * Run     build/examples/pump_sink weather 5           (until so many events were handled)
 * Prints  the data of each event that is JSON, and why another one was refused
 * Next    forward.c */
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include <stdio.h>
#include <stdlib.h>

/* Has handled the event: 0; or has not, and why: an ENSIGN_NACK_x from 100 on; or wants no more: ENDED. */
enum { ENDED = -1 };
typedef int sink_t(void *self, const ensign_event_t *e);

static int fail(const char *what, const ensign_error_t *e)
{
    fprintf(stderr, "pump_sink: %s: %s\n", what, e->text);
    return 1;
}

/* Until the sink wants no more: 0; or the subscription has ended: 1. */
static int pump(ensign_t *c, const char *topic, sink_t *on_event, void *self)
{
    static ensign_subscription_desc_t d; /* zeroed: every field has its default */
    const ensign_notice_t *n;
    ensign_subscription_t s;
    int code = 0;

    d.topics = &topic;
    d.topic_count = 1;
    d.ensure_topics = true;
    s = ensign_subscription_open(c, &d);
    if (s.id == 0) return fail("subscribe", ensign_error(c));
    while (code != ENDED) {
        if (ensign_await(c, s.id, -1, &n) != ENSIGN_OK) return fail("subscription", ensign_error(c));
        if (n->type == ENSIGN_NOTICE_OPEN) fprintf(stderr, "pump_sink: open\n");
        if (n->type == ENSIGN_NOTICE_WAITING) fail("waits, goes on trying", n->error);
        if (n->type == ENSIGN_NOTICE_GAP) fail("events may be missing here", n->error);
        if (n->type == ENSIGN_NOTICE_END) return fail("ended", n->error);
        if (n->type != ENSIGN_NOTICE_EVENT) continue;
        code = on_event(self, n->as.event);
        if (code > 0) ensign_nack(c, s, n->as.event->token, code);
        else ensign_ack(c, s, n->as.event->token);
    }
    return 0;
}

/* ---- what a program brings: its own function, and what that works on */

static int print_json(void *left, const ensign_event_t *e)
{
    if (e->mimetype != ENSIGN_MIME_APPLICATION_JSON) {
        printf("refused, %s\n", ensign_mime_name(e->mimetype));
        return ENSIGN_NACK_UNHANDLED_MIMETYPE;
    }
    printf("%.*s\n", (int)e->data.len, (const char *)e->data.ptr);
    return --*(unsigned long *)left == 0 ? ENDED : 0;
}

int main(int argc, char **argv)
{
    static ensign_desc_t d;
    unsigned long left = argc == 3 ? strtoul(argv[2], NULL, 10) : 0; /* 0: no end */
    ensign_error_t why;
    ensign_t *c;
    int status;

    if (argc < 2 || argc > 3) return fprintf(stderr, "usage: pump_sink TOPIC [EVENTS]\n"), 2;
    if (ensign_desc_env(&d, &why) != ENSIGN_OK || ensign_create(&d, &c, &why) != ENSIGN_OK) {
        return fail("create", &why);
    }
    status = pump(c, argv[1], print_json, &left);
    ensign_destroy(c);
    return status;
}
