/* checks.h - what must hold after each step, while the server behaves, and at the end of a run */
#ifndef CHECKS_H
#define CHECKS_H

#include "user.h"

enum {
    PATIENCE_MS = 75000,            /* above every limit that a handle of a run can have */
    SERVED_MS = 90000,              /* so long until all is well, once the server behaves */
    MUTE_MS = 700000,               /* the same where a connection is mute: above twice the keepalive's time */
    TRY_MS = PATIENCE_MS,               /* above any time that one try of a run can take */
    LEAVES_MS = 1000,               /* so long until a stream has left a connection that drains */
    ANSWER_MS = 60000,              /* so long until a call is answered, above the PING of a link in doubt */
    CLOSE_MS = 120000
};

static size_t client_bound;

static const char *slot_what(const slot_t *s)
{
    static const char *const kinds[] = { "subscription", "query", "request", "publisher", "call" };
    if (s->kind == SLOT_REQ && s->req == REQ_WATCH) return "watch";
    if (s->kind == SLOT_CALL) return s->unary ? "unary call" : "streaming call";
    return kinds[s->kind];
}

/* ------------------------------------------------------------------ after each step */
static void check_step(world_t *w)
{
    ensign_stats_t stats;
    size_t most = client_bound + dying + dying_more;
    unsigned i;
    if (ensign_stats(w->client, ENSIGN_CLIENT, &stats) != ENSIGN_OK) sim_die("ensign_stats of the client");
    if (stats.memory != w->live) sim_die("stats.memory is %zu, the hook gave out %zu", stats.memory, w->live);
    for (i = 0; i < SLOTS; i++) most += slots[i].open ? slots[i].bound : 0;
    if (w->live > most) sim_die("%zu bytes of memory, the bounds allow %zu", w->live, most);
}

/* ------------------------------------------------------------------ nothing hangs, nothing is silent */
static bool on_mute_link(const world_t *w)
{
    int link;
    for (link = 0; link < ENSIGN_MAX_LINKS; link++) {
        if (w->runs[link] && w->runs[link]->alive && w->runs[link]->mute) return true;
    }
    return false;
}

static uint32_t unanswered(const world_t *w, const slot_t *s)
{
    ensign_stats_t stats;
    if (ensign_stats(w->client, s->id, &stats) != ENSIGN_OK) sim_die("ensign_stats of an open handle");
    return stats.in_flight;
}

/* Did the server take the stream, and may it be silent on it? */
static bool server_has(const world_t *w, const slot_t *s, flow_kind_t kind)
{
    const flow_t *f = slot_flow(s, kind);
    return (f && flow_lives(f)) || on_mute_link(w);
}

/* Is something to come? */
static bool slot_owed(world_t *w, const slot_t *s)
{
    switch (s->kind) {
    case SLOT_PUB: return s->closing || s->draining || !s->opened || unanswered(w, s) > 0;
    case SLOT_SUB: return s->closing || !server_has(w, s, FLOW_SUBSCRIBE);
    case SLOT_QUERY: return s->closing || s->deadline_ms || !server_has(w, s, FLOW_QUERY);
    case SLOT_REQ: return s->closing || s->req != REQ_WATCH || !server_has(w, s, FLOW_WATCH);
    case SLOT_CALL: return s->deadline_ms || !server_has(w, s, FLOW_ECHO);
    }
    return true;
}

/* ACKs that are quiet are progress, too. */
static void note_quiet_acks(world_t *w, slot_t *s)
{
    ensign_stats_t stats;
    if (s->kind != SLOT_PUB || ensign_stats(w->client, s->id, &stats) != ENSIGN_OK) return;
    if (stats.acked == s->last) return;
    s->last = stats.acked;
    progress(w, s);
}

/* Does the client have another connection, with its SETTINGS? */
static bool has_next(const world_t *w, const conn_t *c)
{
    const conn_t *next = w->runs[c->link == ENSIGN_LINK_RPC ? ENSIGN_LINK_RPC_2 : ENSIGN_LINK_RPC];
    return next && next->alive && next->session && !next->mute && !next->goaway && next->settings_acks > 0;
}

/* A subscription or a watch leaves a connection that drains once the next one is there. */
static void check_leaves(const world_t *w, slot_t *s)
{
    bool watch = s->kind == SLOT_REQ && s->req == REQ_WATCH;
    const flow_t *f = slot_flow(s, watch ? FLOW_WATCH : FLOW_SUBSCRIBE);
    const conn_t *c = f ? f->stream->conn : NULL;
    if (!s->open || s->held || (!watch && s->kind != SLOT_SUB) || !f || !flow_lives(f) || !c->goaway ||
        c->mute || !has_next(w, c)) {
        s->stays = NULL;
    } else if (s->stays != f) {
        s->stays = f;
        s->stays_ms = w->now;
    } else if (w->now - s->stays_ms > LEAVES_MS) {
        sim_die("a %s (slot %u) stays on the connection that drains, with the next one beside it for %llu ms",
                slot_what(s), s->number, (llu_t)(w->now - s->stays_ms));
    }
}

/* Is what WAITING has announced tried, in time and again and again? With little memory a handle waits for
 * the streams of a connection that drains. */
static void check_tried(const world_t *w, slot_t *s)
{
    bool limited = net.limited[ENSIGN_LINK_RPC] || net.limited[ENSIGN_LINK_RPC_2];
    if (s->retry_ms == ENSIGN_FOREVER || w->desc.memory_limit) return;
    if (net.tries != s->tries || limited || on_mute_link(w)) {
        s->tries = net.tries;
        s->tried_ms = w->now;
        s->retry_ms = 0;
    }
    if (w->now - s->tried_ms > (uint64_t)s->retry_ms + TRY_MS)
        sim_die("a %s (slot %u) has WAITING, and nothing is tried for %llu ms", slot_what(s), s->number,
                (llu_t)(w->now - s->tried_ms));
}

/* All notices that are not held have been pulled. */
static void check_alive(world_t *w)
{
    unsigned i;
    for (i = 0; i < SLOTS; i++) {
        slot_t *s = &slots[i];
        check_leaves(w, s);
        if (!s->open || s->held) continue;
        note_quiet_acks(w, s);
        if (!slot_owed(w, s)) {
            progress(w, s);
            continue;
        }
        if (s->waited) check_tried(w, s);
        if (!s->waited && w->now - s->since_ms > PATIENCE_MS)
            sim_die("a %s (slot %u) has neither moved nor said why for %llu ms", slot_what(s), i,
                    (llu_t)(w->now - s->since_ms));
    }
}

/* ------------------------------------------------------------------ while the server behaves */
/* Is all that the handle wants of a server that behaves there? */
static bool slot_served(world_t *w, const slot_t *s)
{
    if (!s->open) return true;
    switch (s->kind) {
    case SLOT_PUB: return unanswered(w, s) == 0 && !s->wants_room && !s->closing && (s->opened || s->waited);
    case SLOT_SUB: return !s->closing && slot_lives(s, FLOW_SUBSCRIBE);
    case SLOT_QUERY: return !s->closing && server_has(w, s, FLOW_QUERY);
    case SLOT_REQ: return s->req == REQ_WATCH && !s->closing && slot_lives(s, FLOW_WATCH);
    case SLOT_CALL: return !s->unary && (server_has(w, s, FLOW_ECHO) || s->half);
    }
    return true;
}

static const slot_t *first_unserved(world_t *w)
{
    unsigned i;
    for (i = 0; i < SLOTS; i++) {
        if (!slot_served(w, &slots[i])) return &slots[i];
    }
    return NULL;
}

/* ------------------------------------------------------------------ at the end */
static void check_closed(void)
{
    unsigned i;
    for (i = 0; i < SLOTS; i++) {
        if (slots[i].open) sim_die("CLOSED before the END of a %s (slot %u)", slot_what(&slots[i]), i);
    }
    for (i = 0; i < published_count; i++) {
        if (!published[i]->ended) sim_die("publisher %u has no END", i);
    }
}

#endif
