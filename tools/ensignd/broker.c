/* broker.c - see broker.h
 *
 * Holds  a project has one batch that is filled at most, and behind the log has answered the one before, it is
 *        handed over. The bytes of a batch stay where they are from then on. */
#include "broker.h"
#include <stdlib.h>
#include <string.h>

#define FULL_BYTES (16u << 20)
#define ARENA_KEEP (1u << 20)   /* a larger one is given back after its batch */
#define SPARE_MAX 4             /* batches that are kept */

typedef struct entry_t { void *publisher; size_t value, value_len, local_id_len; } entry_t;

struct broker_batch_t {
    log_append_t append;                /* first: the log knows this part alone */
    broker_t    *broker;
    bool         handed;
    buf_t        arena;
    entry_t     *entries;
    log_new_t   *events;
    size_t       count, cap;
    broker_batch_t *next;
};

void broker_open(broker_t *b, log_t *l, const broker_hooks_t *hooks)
{
    memset(b, 0, sizeof *b);
    b->log = l;
    b->hooks = hooks;
}

static void batch_free(broker_batch_t *x)
{
    buf_free(&x->arena);
    free(x->entries);
    free(x->events);
    free(x);
}

static broker_batch_t *batch_new(broker_t *b, const ulid_t *project)
{
    broker_batch_t *x = b->spare;

    if (x) b->spare = x->next;
    else x = x_alloc(sizeof *x);
    x->broker = b;
    x->append.project = *project;
    x->next = NULL;
    return x;
}

static void batch_done(broker_t *b, broker_batch_t *x)
{
    size_t spares = 0;

    for (const broker_batch_t *i = b->spare; i; i = i->next) spares++;
    if (spares >= SPARE_MAX) {
        batch_free(x);
        return;
    }
    if (x->arena.cap > ARENA_KEEP) buf_free(&x->arena);
    x->arena.start = x->arena.end = 0;
    x->count = 0;
    x->handed = false;
    x->next = b->spare;
    b->spare = x;
}

uint8_t *broker_room(broker_t *b, const ulid_t *project, size_t n)
{
    broker_batch_t **at = &b->batches;

    while (*at && ((*at)->handed || !ulid_eq(&(*at)->append.project, project))) at = &(*at)->next;
    if (!*at) *at = batch_new(b, project);
    b->into = *at;
    return buf_room(&b->into->arena, n);
}

static void grow(broker_batch_t *x)
{
    x->cap = x->cap ? 2 * x->cap : 64;
    x->entries = x_realloc(x->entries, x->cap * sizeof *x->entries);
    x->events = x_realloc(x->events, x->cap * sizeof *x->events);
}

void broker_put(broker_t *b, void *publisher, const ulid_t *topic, size_t value_len, size_t local_id_len)
{
    broker_batch_t *x = b->into;
    entry_t *e;

    if (x->count == x->cap) grow(x);
    e = &x->entries[x->count];
    e->publisher = publisher;
    e->value = x->arena.end;
    e->value_len = value_len;
    e->local_id_len = local_id_len;
    x->events[x->count++].topic = *topic;
    x->arena.end += value_len + local_id_len;
    b->bytes += value_len + local_id_len + sizeof *e;
}

/* ---- the log's answers */

static void answer(log_request_t *r)
{
    broker_batch_t *x = (broker_batch_t *)r, **at;
    broker_t *b = x->broker;

    if (r->result != LOG_OK) log_line("%zu events refused: %s", x->count, r->why.text);
    for (size_t i = 0; i < x->count; i++) {
        const entry_t *e = &x->entries[i];
        ensign_slice_t local_id = slice_of(x->arena.ptr + e->value + e->value_len, e->local_id_len);
        bool stored = r->result == LOG_OK || x->events[i].offset;
        if (stored) b->hooks->ack(e->publisher, local_id, x->append.committed);
        else b->hooks->nack(e->publisher, local_id);
        if (stored) b->total++;
        else b->failed++;
    }
    for (at = &b->batches; *at != x;) at = &(*at)->next;
    *at = x->next;
    batch_done(b, x);
}

/* ---- handing over */

static bool is_under_way(const broker_t *b, const ulid_t *project)
{
    for (const broker_batch_t *x = b->batches; x; x = x->next)
        if (x->handed && ulid_eq(&x->append.project, project)) return true;
    return false;
}

static bool may_go(const broker_t *b, const broker_batch_t *x)
{
    return !x->handed && x->count && !is_under_way(b, &x->append.project);
}

static void hand_over(broker_t *b, broker_batch_t *x)
{
    for (size_t i = 0; i < x->count; i++) {
        const entry_t *e = &x->entries[i];
        x->events[i].value = slice_of(x->arena.ptr + e->value, e->value_len);
        b->bytes -= e->value_len + e->local_id_len + sizeof *e;
    }
    x->handed = true;
    x->append.base.done = answer;
    x->append.events = x->events;
    x->append.count = x->count;
    log_append(b->log, &x->append);
}

void broker_commit(broker_t *b)
{
    for (broker_batch_t *x = b->batches; x; x = x->next)
        if (may_go(b, x)) hand_over(b, x);
}

bool broker_waiting(const broker_t *b)
{
    for (const broker_batch_t *x = b->batches; x; x = x->next)
        if (may_go(b, x)) return true;
    return false;
}

bool broker_full(const broker_t *b)
{
    return b->bytes >= FULL_BYTES || log_full(b->log);
}

static void free_all(broker_batch_t *x)
{
    while (x) {
        broker_batch_t *next = x->next;
        batch_free(x);
        x = next;
    }
}

void broker_close(broker_t *b)
{
    free_all(b->batches);
    free_all(b->spare);
    memset(b, 0, sizeof *b);
}
