/* log.h - the log of the model server: what subscribers read of it
 *
 * Its entries are never taken out: what judges the subscribers looks at them, too. An event carries the
 * number of its entry in its data. */
#ifndef LOG_H
#define LOG_H

#include "net.h"

enum { TOPICS = 6, ENTRIES_MOST = 6000, ENTRY_BYTES = 8, EVENT_MOST = 16384 };

typedef struct entry_t {
    uint64_t offset, epoch;
    uint8_t topic, generation;
    bool gone;                      /* the log has it no more */
    bool shadowed;                  /* another event had its offset, so a subscriber may take it for that */
    uint32_t len;                   /* of its data */
} entry_t;

typedef struct events_t {
    entry_t entry[ENTRIES_MOST];
    size_t count;
    uint64_t epoch, last;           /* last: the highest offset that was given */
    uint64_t lost;                  /* offsets up to here had another event, which the log has lost */
    bool places;                    /* the server keeps them, and says so */
    unsigned upsets;
} events_t;

static events_t events;

static void log_begin(world_t *w)
{
    events.count = 0;
    events.epoch = 1 + world_below(w, 5);
    events.last = world_below(w, 3) ? world_below(w, 100) : 0;
    events.lost = 0;
    events.upsets = 0;
    events.places = world_below(w, 4) != 0;
}

static void log_append(world_t *w, unsigned topic, uint8_t generation)
{
    entry_t *e = &events.entry[events.count];
    if (events.count == ENTRIES_MOST) return;
    memset(e, 0, sizeof *e);
    e->offset = events.last += 1 + (world_below(w, 4) ? 0 : world_below(w, 9)); /* they skip */
    e->epoch = events.epoch;
    e->topic = (uint8_t)topic;
    e->generation = generation;
    e->shadowed = e->offset <= events.lost;
    e->len = ENTRY_BYTES + world_below(w, world_below(w, 5) ? 50 : 2500);
    if (world_below(w, 60) == 0) {
        TALLY(server, event_too_large);
        e->len = EVENT_MOST + world_below(w, 900);
    }
    events.count++;
}

static bool log_too_large(const entry_t *e)
{
    return e->len >= EVENT_MOST;
}

/* A topic is removed with its events. */
static void log_destroy(unsigned topic)
{
    for (size_t i = 0; i < events.count; i++)
        if (events.entry[i].topic == topic) events.entry[i].gone = true;
}

/* Another server, or another log, takes over; nobody has a stream now. */
static void log_upset(world_t *w)
{
    uint32_t what = world_below(w, 3);
    uint64_t keep;
    events.upsets++;
    if (what == 0) {
        TALLY(fault, places_change);
        events.places = !events.places;
        return;
    }
    if (what == 1) TALLY(fault, log_anew);
    else TALLY(fault, log_loses_its_end);
    keep = what == 1 ? 0 : events.last - events.last % 7;
    for (size_t i = 0; i < events.count; i++) {
        entry_t *e = &events.entry[i];
        e->gone = e->gone || (e->epoch == events.epoch && e->offset > keep);
    }
    events.lost = what == 1 ? 0 : events.last;
    events.last = keep;
    if (what == 2) return;
    events.epoch++;
    if (world_below(w, 2)) events.last = world_below(w, 300); /* it may have grown before anybody comes */
}

/* row: as a query gives it, else as a stream does. */
static void log_send(stream_t *s, size_t number, const uint8_t topic[16], bool row)
{
    static const uint8_t fill[EVENT_MOST + 1000];
    const entry_t *e = &events.entry[number];
    uint8_t id[10] = { 1 }, head[ENTRY_BYTES];
    bytes_t data = {0}, event = {0}, wrap = {0}, reply = {0};
    tell("event %zu of topic %u, offset %llu, %u bytes, is sent%s", number, e->topic, (llu_t)e->offset,
         (unsigned)e->len, row ? " as a row" : "");
    be64_put(head, number);
    memcpy(id + 2, head, sizeof head);
    bytes_add(&data, head, sizeof head);
    bytes_add(&data, fill, e->len - sizeof head);
    enc_message(&event, 2, &data);
    enc_bytes(&wrap, 1, id, sizeof id);
    enc_bytes(&wrap, 2, topic, 16);
    if (events.places) enc_uint(&wrap, 3, e->offset);
    if (events.places) enc_uint(&wrap, 4, e->epoch);
    enc_message(&wrap, 9, &event);
    if (!row) enc_time(&wrap, 15, 1600000001 + (int64_t)number, 8);
    if (!row) enc_message(&reply, 1, &wrap);
    peer_send(s, row ? &wrap : &reply);
}

#endif
