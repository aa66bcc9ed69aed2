/* outage.h - the server is away for a while, and everything that was open is open again soon after */
#ifndef OUTAGE_H
#define OUTAGE_H

#include "chaos.h"

enum { OUTAGE_SLICE_MS = 10 };

static unsigned publish_streams(void)
{
    unsigned n = 0;
    flow_t *f;
    for (f = model.flows; f; f = f->next) n += f->kind == FLOW_PUBLISH && f->ready && flow_lives(f);
    return n;
}

/* Has every handle that keeps a stream its stream? */
static bool all_streams_open(void)
{
    unsigned i, publishers = 0;
    for (i = 0; i < SLOTS; i++) {
        const slot_t *s = &slots[i];
        if (!s->open) continue;
        if (s->kind == SLOT_SUB && !slot_lives(s, FLOW_SUBSCRIBE)) return false;
        if (s->kind == SLOT_REQ && s->req == REQ_WATCH && !slot_lives(s, FLOW_WATCH)) return false;
        publishers += s->kind == SLOT_PUB;
    }
    return publish_streams() >= publishers;
}

static void open_all(world_t *w)
{
    unsigned i, tries;
    for (i = 0; i < SLOTS; i++) {
        slot_t *s = &slots[i];
        if (s->kind == SLOT_SUB || s->kind == SLOT_PUB) open_slot(w, s);
        for (tries = 0; s->kind == SLOT_REQ && tries < 3 && !s->open; tries++) open_request(w, s);
    }
    for (tries = 0; !all_streams_open(); tries++) {
        if (tries == 100) sim_die("the streams do not open at a server that behaves");
        net_pass(w, 100, true);
    }
}

/* All are back within twice the outage and a second. */
static void check_outage(world_t *w)
{
    uint64_t away = 300 + world_below(w, 1u << (4 + world_below(w, 11))), start = w->now, most;
    host_t how = world_below(w, 2) ? HOST_REFUSES : HOST_CLOSES;
    unsigned i;
    TALLY(fault, outage);
    for (i = 0; i < HOSTS; i++) net.host[i] = how;
    world_cut_link(w, ENSIGN_LINK_RPC, world_below(w, 2) ? ECONNRESET : 0);
    if (w->runs[ENSIGN_LINK_RPC_2]) world_cut_link(w, ENSIGN_LINK_RPC_2, ECONNRESET);
    while (w->now - start < away) {
        if (world_below(w, 20) == 0) use_publisher(w);
        net_pass(w, OUTAGE_SLICE_MS, true);
    }
    mend(w);
    most = 2 * (w->now - start) + 1000 + 2 * OUTAGE_SLICE_MS;
    while (!all_streams_open()) {
        if (w->now - start > most)
            sim_die("away for %llu ms, and after %llu ms not all streams are open again",
                    (llu_t)away, (llu_t)(w->now - start));
        net_pass(w, OUTAGE_SLICE_MS, true);
    }
}

static void run_outages(world_t *w)
{
    unsigned n = 1 + world_below(w, 3);
    model.calm = true;
    topic_make(0);
    open_all(w);
    while (n-- > 0) {
        net_pass(w, world_below(w, 60000), true);
        open_all(w);
        check_outage(w);
    }
}

#endif
