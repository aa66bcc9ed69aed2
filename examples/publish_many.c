/* publish_many.c - publish many events, and have a function called with the answer to each
 * Shows   callbacks over the pull API: the tag finds what an answer is about; AGAIN, ROOM; a clean end
 * Run     build/examples/publish_many weather 100000
 * Prints  how many were stored and how many refused; exit 0 when all are stored
 * Next    subscribe_ack.c */
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include <stdio.h>
#include <stdlib.h>

typedef struct reading_t reading_t;
struct reading_t {
    char text[32];
    void (*on_ack)(reading_t *self, ensign_time_t committed);
    void (*on_nack)(reading_t *self, const ensign_error_t *why);
};

static unsigned long stored, refused;

static int fail(const ensign_error_t *why)
{
    fprintf(stderr, "publish_many: %s\n", why->text);
    return 1;
}

static void reading_stored(reading_t *self, ensign_time_t committed)
{
    (void)committed;
    stored++;
    free(self);
}

static void reading_refused(reading_t *self, const ensign_error_t *why)
{
    fprintf(stderr, "publish_many: %s: %s\n", self->text, why->text);
    refused++;
    free(self);
}

static reading_t *reading_new(unsigned long number)
{
    reading_t *r = malloc(sizeof *r);

    if (!r) exit(1);
    snprintf(r->text, sizeof r->text, "reading %06lu", number);
    r->on_ack = reading_stored;
    r->on_nack = reading_refused;
    return r;
}

/* What came. False: the publisher has ended. */
static bool dispatch(const ensign_notice_t *n)
{
    reading_t *r;

    switch (n->type) {
    case ENSIGN_NOTICE_ACK:
        r = (reading_t *)(uintptr_t)n->as.ack.tag;
        r->on_ack(r, n->as.ack.committed);
        break;
    case ENSIGN_NOTICE_NACK:
        r = (reading_t *)(uintptr_t)n->as.nack.tag;
        r->on_nack(r, n->error);
        break;
    case ENSIGN_NOTICE_WAITING: fail(n->error); break; /* it goes on by itself */
    case ENSIGN_NOTICE_END: return n->error ? fail(n->error), false : false;
    default: break;
    }
    return true;
}

int main(int argc, char **argv)
{
    ensign_desc_t desc = { 0 };
    ensign_publisher_desc_t stream = { 0 };
    ensign_event_t event = { 0 };
    const ensign_notice_t *n;
    ensign_publisher_t pub;
    ensign_error_t why;
    ensign_t *c;
    unsigned long number = 0, count = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    reading_t *next = NULL;

    if (argc != 3) return fprintf(stderr, "usage: publish_many TOPIC COUNT\n"), 2;
    if (ensign_desc_env(&desc, &why) != ENSIGN_OK) return fail(&why);
    if (ensign_create(&desc, &c, &why) != ENSIGN_OK) return fail(&why);
    stream.topic = argv[1];
    stream.ensure_topic = true;
    pub = ensign_publisher_open(c, &stream);
    if (pub.id == 0) return fail(ensign_error(c));
    event.mimetype = ENSIGN_MIME_TEXT_PLAIN;
    for (bool open = true; open;) {
        while (next || number < count) {
            int rc;
            if (!next) next = reading_new(++number);
            event.data = ensign_str(next->text);
            event.tag = (uintptr_t)next; /* comes back with the answer */
            rc = ensign_publish(c, pub, &event);
            if (rc < 0) return fail(ensign_error(c));
            if (rc == ENSIGN_AGAIN) break; /* no room: take answers first */
            next = NULL;
        }
        if (!next && number == count && ensign_close(c, pub.id, 30000) != ENSIGN_OK)
            return fail(ensign_error(c)); /* waits for the answers, then END */
        if (ensign_await(c, pub.id, -1, &n) != ENSIGN_OK) return fail(ensign_error(c));
        do open = dispatch(n);
        while (open && (n = ensign_next_of(c, pub.id)) != NULL);
    }
    ensign_destroy(c);
    printf("%lu stored, %lu refused\n", stored, refused);
    return stored == count ? 0 : 1;
}
