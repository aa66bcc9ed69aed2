/* broker.c - see broker.h
 *
 * Holds  of a project's batches, the first one is handed over, and only the last one is filled, and not while
 *        it is handed: its bytes stay where they are. From a batch as many events go as dedup_window.h lets
 *        go; when they are answered, the rest of it is handed over. */
#include "broker.h"
#include <stdlib.h>
#include <string.h>

#define FULL_BYTES (16u << 20)
#define ARENA_KEEP (1u << 20)   /* a larger one is given back after its batch */
#define SPARE_MAX 4             /* batches that are kept */

typedef struct entry_t {
    void  *publisher;
    size_t value, value_len, local_id_len, key_len;
    size_t marked, marked_len;          /* in `marked`: what is stored of a duplicate; 0: it is none */
} entry_t;

struct broker_batch_t {
    log_append_t append;                /* first: the log knows this part alone */
    broker_t    *broker;
    bool         handed;
    uint64_t     number;                /* of the append that is handed */
    size_t       from;                  /* the entries before it are answered */
    bool         blocked;               /* nothing of it may go until the window's serial is another one */
    uint64_t     serial;
    buf_t        arena, marked;
    entry_t     *entries;
    log_new_t   *events;
    size_t       count, cap;
    broker_batch_t *next;
};

void broker_open(broker_t *b, log_t *l, dedup_window_t *dedup, const broker_hooks_t *hooks)
{
    memset(b, 0, sizeof *b);
    b->log = l;
    b->dedup = dedup;
    b->hooks = hooks;
}

static void batch_free(broker_batch_t *x)
{
    buf_free(&x->arena);
    buf_free(&x->marked);
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
    buf_free(&x->marked);
    x->count = x->from = 0;
    x->next = b->spare;
    b->spare = x;
}

static bool is_of(const broker_batch_t *x, const ulid_t *project)
{
    return ulid_eq(&x->append.project, project);
}

uint8_t *broker_room(broker_t *b, const ulid_t *project, size_t n)
{
    broker_batch_t **at = &b->batches, *last = NULL;

    for (; *at; at = &(*at)->next)
        if (is_of(*at, project)) last = *at;
    if (!last || last->handed) last = *at = batch_new(b, project);
    b->into = last;
    return buf_room(&b->into->arena, n);
}

static void grow(broker_batch_t *x)
{
    x->cap = x->cap ? 2 * x->cap : 64;
    x->entries = x_realloc(x->entries, x->cap * sizeof *x->entries);
    x->events = x_realloc(x->events, x->cap * sizeof *x->events);
}

void broker_put(broker_t *b, void *publisher, const ulid_t *topic, size_t value_len, size_t local_id_len,
                size_t key_len)
{
    broker_batch_t *x = b->into;
    entry_t *e;

    if (x->count == x->cap) grow(x);
    e = &x->entries[x->count];
    e->publisher = publisher;
    e->value = x->arena.end;
    e->value_len = value_len;
    e->local_id_len = local_id_len;
    e->key_len = key_len;
    e->marked_len = 0;
    x->events[x->count++].topic = *topic;
    x->arena.end += value_len + local_id_len + key_len;
    b->bytes += value_len + local_id_len + key_len + sizeof *e;
}

static ensign_slice_t key_of(const broker_batch_t *x, const entry_t *e)
{
    return slice_of(x->arena.ptr + e->value + e->value_len + e->local_id_len, e->key_len);
}

static ensign_slice_t value_of(const broker_batch_t *x, const entry_t *e)
{
    return e->marked_len ? slice_of(x->marked.ptr + e->marked, e->marked_len)
                         : slice_of(x->arena.ptr + e->value, e->value_len);
}

/* ---- the log's answers */

static void answer_one(broker_t *b, broker_batch_t *x, size_t i, bool stored)
{
    const entry_t *e = &x->entries[i];
    ensign_slice_t local_id = slice_of(x->arena.ptr + e->value + e->value_len, e->local_id_len);

    if (stored) b->hooks->ack(e->publisher, local_id, x->append.committed);
    else b->hooks->nack(e->publisher, local_id);
    if (!stored && !e->marked_len) dedup_window_failed(b->dedup, &x->events[i].topic, value_of(x, e));
    if (stored) b->total++;
    else b->failed++;
}

static void answer(log_request_t *r)
{
    broker_batch_t *x = (broker_batch_t *)r, **at;
    broker_t *b = x->broker;
    size_t end = x->from + x->append.count;

    if (r->result != LOG_OK) log_line("%zu events refused: %s", x->append.count, r->why.text);
    for (size_t i = x->from; i < end; i++)
        answer_one(b, x, i, r->result == LOG_OK || x->events[i].offset);
    x->from = end;
    x->handed = false;
    if (end < x->count) return;
    for (at = &b->batches; *at != x;) at = &(*at)->next;
    *at = x->next;
    batch_done(b, x);
}

/* ---- handing over */

static bool is_first(const broker_t *b, const broker_batch_t *x)
{
    const broker_batch_t *first = b->batches;

    while (!is_of(first, &x->append.project)) first = first->next;
    return first == x;
}

static bool may_go(const broker_t *b, const broker_batch_t *x)
{
    return !x->handed && x->count > x->from && is_first(b, x) &&
           !(x->blocked && x->serial == dedup_window_serial(b->dedup));
}

/* How many events may go. */
static size_t find_duplicates(broker_t *b, broker_batch_t *x)
{
    size_t i = x->from;

    x->marked.start = x->marked.end = 0;
    x->serial = dedup_window_serial(b->dedup);
    for (; i < x->count; i++) {
        entry_t *e = &x->entries[i];
        e->marked = x->marked.end;
        if (dedup_window_ask(b->dedup, &x->events[i].topic, value_of(x, e), &x->marked) == DEDUP_LATER) break;
        e->marked_len = x->marked.end - e->marked;
    }
    x->blocked = i == x->from;
    return i - x->from;
}

static void hand_over(broker_t *b, broker_batch_t *x)
{
    size_t count = find_duplicates(b, x);

    if (count == 0) return;
    for (size_t i = x->from; i < x->from + count; i++) {
        const entry_t *e = &x->entries[i];
        x->events[i].value = value_of(x, e);
        x->events[i].key = key_of(x, e);
        b->bytes -= e->value_len + e->local_id_len + e->key_len + sizeof *e;
    }
    x->handed = true;
    x->number = ++b->handed;
    x->append.base.done = answer;
    x->append.events = x->events + x->from;
    x->append.count = count;
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

bool broker_answered(const broker_t *b, uint64_t handed)
{
    for (const broker_batch_t *x = b->batches; x; x = x->next)
        if (x->handed && x->number <= handed) return false;
    return true;
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
