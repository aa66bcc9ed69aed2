/* turn.c - what a turn of the loop costs while nothing happens: run by tools/bench under callgrind
 *
 * turn HANDLES MAX_HANDLES TURNS: a client with so many open publishers, each with its stream on an in-memory
 * server, takes so many turns of ensign_timeout and ensign_tick. The difference of two runs with other numbers
 * of turns is the cost of the turns. */
#include "../seq/service.h"

static void on_message(world_t *w, stream_t *s, ensign_slice_t m)
{
    (void)m;
    (void)w;
    if (s->stage) return;
    s->stage = 1;
    service_ready(s, 3);
}

int main(int argc, char **argv)
{
    unsigned long handles = argc == 4 ? strtoul(argv[1], NULL, 10) : 0, opened = 0;
    unsigned long turns = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    world_t *w = &world;
    ensign_publisher_desc_t d;
    const ensign_notice_t *n;

    if (handles == 0) return fprintf(stderr, "usage: turn HANDLES MAX_HANDLES TURNS\n"), 2;
    world_begin(w, WHOLE, 1);
    memset(&d, 0, sizeof d);
    d.topic = "weather";
    w->desc.max_handles = (uint32_t)strtoul(argv[2], NULL, 10);
    w->on_message = on_message;
    w->settings[0].settings_id = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS;
    w->settings[0].value = 100000;
    w->setting_count = 1;
    world_create(w);
    for (unsigned long i = 0; i < handles; i++)
        if (ensign_publisher_open(w->client, &d).id == 0) return fprintf(stderr, "no more handles\n"), 1;
    while (opened < handles) {
        while ((n = ensign_next(w->client)) != NULL) opened += n->type == ENSIGN_NOTICE_OPEN;
        if (opened < handles) world_advance(w, "OPEN");
    }
    world_settle(w);
    while (ensign_next(w->client)) continue;
    for (unsigned long i = 0; i < turns; i++) {
        (void)ensign_timeout(w->client, w->now);
        ensign_tick(w->client, w->now);
    }
    world_free(w);
    return 0;
}
