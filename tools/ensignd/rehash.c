/* rehash.c - see rehash.h
 *
 * Moves  COUNT    to the end of what there was at the start, so that Info's sizes are those of whole events
 *        RESTORE  every duplicate to a whole event; the originals are not touched, so each is there when it
 *                 is needed, and a server that dies in between goes on from the beginning
 *        FIND     with OFFSET_LATEST: the last of each set
 *        MARK     what has an original as its duplicate
 * Holds  one hash of each original, SEEN_MAX of them: events beyond that are not found to repeat each other.
 *        Events that come meanwhile are left alone. */
#include "dedup.h"
#include "numbers.h"
#include "rehash.h"
#include "restore.h"
#include "topic_state.h"
#include <stdlib.h>
#include <string.h>

#define SEEN_MAX 4194304u       /* 32 bytes each, twice */

typedef enum { COUNT, RESTORE, FIND, MARK, OVER } phase_t;
typedef struct seen_t { name_hash_t hash; rlid_t id; bool used; } seen_t;

typedef struct rehash_t {
    job_t          job;
    dedup_policy_t policy;
    rlid_t         until;       /* the last id that was given out when it began */
    walk_t         walk;
    phase_t        phase;
    seen_t        *seen;
    size_t         seen_count, seen_cap;
    buf_t          original, out;
    uint64_t       marked;
} rehash_t;

/* ---- originals by their hash */

static size_t place_of(const rehash_t *r, const name_hash_t *h)
{
    size_t at = 0;
    for (size_t i = 0; i < sizeof at; i++) at = at << 8 | h->b[i];
    return at & (r->seen_cap - 1);
}

static void seen_insert(rehash_t *r, const seen_t *entry)
{
    size_t at = place_of(r, &entry->hash);
    while (r->seen[at].used) at = (at + 1) & (r->seen_cap - 1);
    r->seen[at] = *entry;
}

static void seen_grow(rehash_t *r)
{
    seen_t *old = r->seen;
    size_t cap = r->seen_cap;

    r->seen_cap = cap ? 2 * cap : 1024;
    r->seen = x_alloc(r->seen_cap * sizeof *r->seen);
    for (size_t i = 0; i < cap; i++)
        if (old[i].used) seen_insert(r, &old[i]);
    free(old);
}

static void seen_add(rehash_t *r, const name_hash_t *hash, ensign_slice_t key)
{
    seen_t entry;

    if (r->seen_count == SEEN_MAX) return;
    if (2 * (r->seen_count + 1) > r->seen_cap) seen_grow(r);
    entry.hash = *hash;
    memcpy(entry.id.b, key.ptr + 16, sizeof entry.id.b);
    entry.used = true;
    seen_insert(r, &entry);
    r->seen_count++;
}

static bool get_event(service_t *s, rehash_t *r, const uint8_t rlid[10], why_t *why)
{
    uint8_t key[EVENT_KEY];
    event_key(r->job.topic, slice_of(rlid, 10), key);
    return store_get(s->topics->store, STORE_EVENT, slice_of(key, sizeof key), &r->original, why);
}

/* The original that says the same as this event, or the event itself; *found is NULL when no event does. With the
   original's record in r->original, unless it is the event itself. */
static bool seen_find(service_t *s, rehash_t *r, const name_hash_t *hash, ensign_slice_t key,
                      ensign_slice_t value, seen_t **found, why_t *why)
{
    *found = NULL;
    if (r->seen_cap == 0) return true;
    for (size_t at = place_of(r, hash); r->seen[at].used; at = (at + 1) & (r->seen_cap - 1)) {
        seen_t *entry = &r->seen[at];
        if (memcmp(entry->hash.b, hash->b, sizeof hash->b) != 0) continue;
        *found = entry;
        if (memcmp(entry->id.b, key.ptr + 16, sizeof entry->id.b) == 0) return true;
        if (!get_event(s, r, entry->id.b, why)) return false;
        if (dedup_same(&r->policy, value, buf_bytes(&r->original))) return true;
        *found = NULL;
    }
    return true;
}

/* ---- one event */

static bool write_back(service_t *s, rehash_t *r, ensign_slice_t key, why_t *why)
{
    store_record_t record = { STORE_EVENT, key, buf_bytes(&r->out) };
    return store_append(s->topics->store, &record, 1, why);
}

/* A duplicate whose original there is not was called one by its publisher: it is left so. The real service
   leaves the mark on what it has restored. */
static bool restore(service_t *s, rehash_t *r, ensign_slice_t key, ensign_slice_t value, why_t *why)
{
    buf_t whole = { NULL, 0, 0, 0 };
    rlid_t id;
    bool ok = true;

    if (!dedup_original(value, &id)) return true;
    if (!get_event(s, r, id.b, why)) return false;
    if (buf_len(&r->original) == 0) return true;
    r->out.start = r->out.end = 0;
    if (restore_duplicate(value, buf_bytes(&r->original), s->strict ? &r->out : &whole) &&
        (s->strict || dedup_unmark(buf_bytes(&whole), &r->out)))
        ok = write_back(s, r, key, why);
    buf_free(&whole);
    return ok;
}

/* False in *usable: there is nothing to compare. The real service gives up there. */
static bool hash_of(service_t *s, rehash_t *r, ensign_slice_t value, name_hash_t *hash, bool *usable,
                    why_t *why)
{
    rlid_t id;

    *usable = (s->strict || !dedup_original(value, &id)) && dedup_hash(&r->policy, value, hash);
    if (s->strict && (!*usable || r->policy.strategy >= DEDUP_UNIQUE_FIELD))
        return fail(why, "could not compute hash of event; empty events and UNIQUE_FIELD have none");
    return true;
}

static bool find_last(service_t *s, rehash_t *r, ensign_slice_t key, ensign_slice_t value, why_t *why)
{
    name_hash_t hash;
    seen_t *entry;
    bool usable;

    if (!hash_of(s, r, value, &hash, &usable, why)) return false;
    if (!usable) return true;
    if (!seen_find(s, r, &hash, key, value, &entry, why)) return false;
    if (entry) memcpy(entry->id.b, key.ptr + 16, sizeof entry->id.b);
    else seen_add(r, &hash, key);
    return true;
}

static bool mark(service_t *s, rehash_t *r, ensign_slice_t key, ensign_slice_t value, why_t *why)
{
    name_hash_t hash;
    seen_t *entry;
    rlid_t id;
    bool usable;

    if (!hash_of(s, r, value, &hash, &usable, why)) return false;
    if (!s->strict && dedup_original(value, &id)) numbers_duplicate(s, r->job.topic, value);
    if (!usable) return true;
    if (!seen_find(s, r, &hash, key, value, &entry, why)) return false;
    if (!entry) seen_add(r, &hash, key);
    if (!entry || memcmp(entry->id.b, key.ptr + 16, sizeof entry->id.b) == 0) return true;
    r->out.start = r->out.end = 0;
    if (!dedup_shrink(&r->policy, value, buf_bytes(&r->original), &r->out)) return true;
    /* The real service counts it for the type that is left of it. */
    numbers_duplicate(s, r->job.topic, s->strict ? buf_bytes(&r->out) : value);
    r->marked++;
    return write_back(s, r, key, why);
}

static bool visit(service_t *s, rehash_t *r, ensign_slice_t key, ensign_slice_t value, why_t *why)
{
    if (r->phase == RESTORE) return restore(s, r, key, value, why);
    if (r->phase == FIND) return find_last(s, r, key, value, why);
    return mark(s, r, key, value, why);
}

/* ---- the job */

/* The real service leaves the newest event alone, and knows no OFFSET_LATEST. */
static bool next_phase(service_t *s, rehash_t *r, why_t *why)
{
    ensign_slice_t prefix = slice_of(r->job.topic->id.b, 16);
    bool latest = r->policy.latest && !s->strict;

    if (r->phase == RESTORE) numbers_no_duplicates(s, r->job.topic);
    if (r->phase == RESTORE && r->policy.strategy == DEDUP_NONE) r->phase = OVER;
    else if (r->phase == RESTORE && !latest) r->phase = MARK;
    else r->phase++;
    walk_start(&r->walk, r->job.topic, &r->until);
    if (!s->strict) return true;
    if (!store_tail(s->topics->store, STORE_EVENT, prefix, &r->original, why)) return false;
    if (buf_len(&r->original) != EVENT_KEY) return true;
    r->walk.before = memcmp(r->original.ptr, r->walk.until, EVENT_KEY) <= 0;
    if (r->walk.before) memcpy(r->walk.until, r->original.ptr, EVENT_KEY);
    return true;
}

static bool step(service_t *s, job_t *j, bool *more, why_t *why)
{
    rehash_t *r = (rehash_t *)j;

    *more = true;
    if (r->phase == COUNT) {
        bool counting;
        if (!numbers_advance(s, j->topic, &r->until, &counting, why)) return false;
        return counting || next_phase(s, r, why);
    }
    if (r->phase == OVER) {
        *more = false;
        return topic_set_state(s->topics, j->topic, MSG_TOPIC_STATE_READY, why);
    }
    if (!walk_next(&r->walk, s->topics->store, why)) return false;
    if (r->walk.count == 0) return next_phase(s, r, why);
    for (size_t i = 0; i < r->walk.count; i++)
        if (!visit(s, r, walk_key(&r->walk, i), walk_value(&r->walk, i), why)) return false;
    return store_commit(s->topics->store, why);
}

static void end(service_t *s, job_t *j, bool done)
{
    rehash_t *r = (rehash_t *)j;
    (void)s;

    if (done)
        log_line("topic %s: deduplicated, %llu duplicates", j->topic->name, (unsigned long long)r->marked);
    dedup_policy_free(&r->policy);
    walk_free(&r->walk);
    buf_free(&r->original);
    buf_free(&r->out);
    free(r->seen);
    free(r);
}

void rehash_start(service_t *s, topic_t *t)
{
    rehash_t *r = x_alloc(sizeof *r);

    r->job.step = step;
    r->job.end = end;
    r->job.topic = t;
    r->until = broker_last(s->broker);
    if (!dedup_policy_read(slice_of(t->message, t->message_len), &r->policy)) r->policy.strategy = DEDUP_NONE;
    jobs_add(s, &r->job);
}
