/* publish_one.c - publish one event, and know that it is stored
 * Shows   the shortest program: create, open, publish, flush, destroy
 * Run     build/examples/publish_one weather '{"temp": 72}'        (ENSIGN_ variables name server and key)
 * Prints  "stored", or the reason why not; exit 0 when the event is stored
 * Next    publish_many.c */
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include <stdio.h>

static int fail(const ensign_error_t *why)
{
    fprintf(stderr, "publish_one: %s\n", why->text);
    return 1;
}

int main(int argc, char **argv)
{
    ensign_desc_t desc = { 0 }; /* 0 in any field means its default */
    ensign_publisher_desc_t stream = { 0 };
    ensign_event_t event = { 0 };
    ensign_publisher_t pub;
    ensign_error_t why;
    ensign_t *c;

    if (argc != 3) return fprintf(stderr, "usage: publish_one TOPIC TEXT\n"), 2;
    if (ensign_desc_env(&desc, &why) != ENSIGN_OK) return fail(&why);
    if (ensign_create(&desc, &c, &why) != ENSIGN_OK) return fail(&why);
    stream.topic = argv[1];
    stream.ensure_topic = true; /* make the topic when it is not there */
    pub = ensign_publisher_open(c, &stream); /* needs no connection yet, nor does ensign_publish */
    if (pub.id == 0) return fail(ensign_error(c));
    event.data = ensign_str(argv[2]);
    event.mimetype = ENSIGN_MIME_APPLICATION_JSON;
    if (ensign_publish(c, pub, &event) != ENSIGN_OK) return fail(ensign_error(c));
    if (ensign_publisher_flush(c, pub, 30000) != ENSIGN_OK) return fail(ensign_error(c));
    puts("stored");
    ensign_destroy(c);
    return 0;
}
