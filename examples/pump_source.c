/* pump_source.c - publish what a source yields, and what a function returns
 * Shows   what PyEnsign's class Publisher and its decorator @publisher do, as a loop over the pull API
 * Run     build/examples/pump_source weather             (five readings, one every 20 ms)
 *         build/examples/pump_source weather once        (what one call of a function returns)
 * Prints  how many events are stored; exit 0 when all are
 * Next    pump_sink.c */
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include <stdio.h>
#include <string.h>

/* Fills the event: 0; or has none yet, and is to be asked again in so many ms; or has no more: ENDED. */
enum { ENDED = -1 };
typedef int source_t(void *self, ensign_event_t *e);

static int failures;

static void say(const char *what, const ensign_error_t *e)
{
    fprintf(stderr, "pump_source: %s: %s\n", what, e->text);
}

static int fail(const char *what, const ensign_error_t *e)
{
    say(what, e);
    failures++;
    return ENDED;
}

/* The publisher's next notice, if one comes in time. ENDED: it was the last. */
static int turn(ensign_t *c, ensign_publisher_t p, int wait_ms)
{
    const ensign_notice_t *n;
    int rc = ensign_await(c, p.id, wait_ms, &n);

    if (rc < 0) return fail("publisher", ensign_error(c));
    if (rc > 0) return 0; /* the time is up */
    if (n->type == ENSIGN_NOTICE_WAITING) say("waits, goes on trying", n->error);
    else if (n->error) fail(n->last ? "ended" : "nack", n->error);
    if (n->last) printf("%u events are stored\n", (unsigned)n->as.end.count);
    return n->last ? ENDED : 0;
}

/* Publishes until the source has no more and all is answered. */
static int pump(ensign_t *c, const char *topic, source_t *next, void *self)
{
    static ensign_publisher_desc_t d; /* zeroed: every field has its default */
    ensign_publisher_t p;
    ensign_event_t e;
    int rc, wait_ms;

    d.topic = topic;
    d.ensure_topic = true;
    p = ensign_publisher_open(c, &d);
    if (p.id == 0) return fail("open", ensign_error(c));
    while ((wait_ms = next(self, memset(&e, 0, sizeof e))) != ENDED) {
        while (wait_ms == 0 && (rc = ensign_publish(c, p, &e)) != ENSIGN_OK) {
            if (rc < 0) return fail("publish", ensign_error(c));
            if (turn(c, p, -1) == ENDED) return ENDED; /* no room: answers make some */
        }
        if (wait_ms > 0 && turn(c, p, wait_ms) == ENDED) return ENDED;
    }
    ensign_close(c, p.id, ENSIGN_FOREVER);
    while (turn(c, p, -1) != ENDED) {}
    return 0;
}

/* ---- what a program brings: a source of its own, as a class that yields has one */

typedef struct { int left; uint64_t due; char text[64]; } thermometer_t;

static int readings(void *self, ensign_event_t *e)
{
    thermometer_t *t = self;
    uint64_t now = ensign_now_ms();

    if (t->left == 0) return ENDED;
    if (now < t->due) return (int)(t->due - now); /* the loop goes on meanwhile: answers, reconnects */
    t->due = now + 20;
    e->data.len = (size_t)snprintf(t->text, sizeof t->text, "{\"temp\": %d}", 72 + t->left--);
    e->data.ptr = (const uint8_t *)t->text; /* publish copies it */
    e->mimetype = ENSIGN_MIME_APPLICATION_JSON;
    return 0;
}

/* ---- or a function: its result is a source of one event, or of none where it returns nothing */

typedef struct { size_t (*function)(char *out, size_t cap); char text[256]; } result_t;

static int result(void *self, ensign_event_t *e)
{
    result_t *r = self;

    if (!r->function) return ENDED;
    e->data.len = r->function(r->text, sizeof r->text);
    e->data.ptr = (const uint8_t *)r->text;
    e->mimetype = ENSIGN_MIME_APPLICATION_JSON;
    r->function = NULL;
    return e->data.len > 0 ? 0 : ENDED;
}

static size_t current_weather(char *out, size_t cap)
{
    return (size_t)snprintf(out, cap, "{\"temp\": 72, \"units\": \"fahrenheit\"}");
}

int main(int argc, char **argv)
{
    static ensign_desc_t d;
    thermometer_t thermometer = { 5, 0, "" };
    result_t weather = { current_weather, "" };
    ensign_error_t why;
    ensign_t *c;

    if (argc < 2 || argc > 3) return fprintf(stderr, "usage: pump_source TOPIC [once]\n"), 2;
    if (ensign_desc_env(&d, &why) != ENSIGN_OK || ensign_create(&d, &c, &why) != ENSIGN_OK) {
        return fail("create", &why), 1;
    }
    if (argc == 2) pump(c, argv[1], readings, &thermometer);
    else pump(c, argv[1], result, &weather);
    ensign_destroy(c);
    return failures ? 1 : 0;
}
