/* rehash.c - see rehash.h
 *
 * Moves  SETTLE   until the log has all events that were compared under the policy before
 *        COUNT    to the end of what there is then, so that Info's sizes are those of whole events
 *        RESTORE  every duplicate to a whole event; the originals are not touched, so each is there when it
 *                 is needed, and a server that dies in between goes on from the beginning
 *        FIND     with OFFSET_LATEST: the last of each set
 *        MARK     what has an original as its duplicate
 *        SAVE     the topic's new state
 * Holds  one hash of each original, SEEN_MAX of them: events beyond that are not found to repeat each other.
 *        Amendments, WALK_RECORDS of them at most, and of WALK_BYTES and one event more. They are asked for
 *        together, so that the log commits them together, and the job waits until all are answered.
 *        Events that come meanwhile are left alone. */
#include "dedup.h"
#include "numbers.h"
#include "rehash.h"
#include "restore.h"
#include "topic_state.h"
#include "walk.h"
#include <stdlib.h>
#include <string.h>

#define SEEN_MAX 4194304u       /* 32 bytes each, twice */

typedef enum { SETTLE, COUNT, RESTORE, FIND, MARK, SAVE, SAVED } phase_t;
typedef struct seen_t { name_hash_t hash; rlid_t id; bool used; } seen_t;

typedef struct rehash_t rehash_t;
typedef struct amendment_t {
    log_amend_t amend;
    rehash_t   *rehash;
    buf_t       value;
    struct amendment_t *next, **back;
} amendment_t;

struct rehash_t {
    job_t          job;
    dedup_policy_t policy;
    uint64_t       handed;      /* appends of the broker when it began */
    uint64_t       until;       /* the last offset that was given out when these were answered */
    walk_t         walk;
    phase_t        phase;
    seen_t        *seen;
    size_t         seen_count, seen_cap;
    size_t         probe;       /* where the search for the event's original goes on, once `probing` */
    bool           probing;
    amendment_t   *amendments;
    size_t         amending, amending_bytes;    /* how many, and of how many bytes */
    bool           asked;       /* the log has them */
    bool           failed;
    buf_t          out;
    uint64_t       marked;
};

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

static void seen_add(rehash_t *r, const name_hash_t *hash, const rlid_t *id)
{
    seen_t entry;

    if (r->seen_count == SEEN_MAX) return;
    if (2 * (r->seen_count + 1) > r->seen_cap) seen_grow(r);
    entry.hash = *hash;
    entry.id = *id;
    entry.used = true;
    seen_insert(r, &entry);
    r->seen_count++;
}

static bool same_id(const rlid_t *a, const rlid_t *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}

/* The original that says the same as this event, with its value, or the event itself; *found is NULL when no
   event does. Where it has to wait for an original of this hash it goes on from that one. */
static job_result_t seen_find(rehash_t *r, const name_hash_t *hash, const log_event_t *e, seen_t **found,
                              ensign_slice_t *original)
{
    job_result_t result;

    *found = NULL;
    if (r->seen_cap == 0) return JOB_MORE;
    if (!r->probing) r->probe = place_of(r, hash);
    r->probing = true;
    for (; r->seen[r->probe].used; r->probe = (r->probe + 1) & (r->seen_cap - 1)) {
        seen_t *entry = &r->seen[r->probe];
        if (memcmp(entry->hash.b, hash->b, sizeof hash->b) != 0) continue;
        result = same_id(&entry->id, &e->id) ? JOB_MORE : walk_original(&r->walk, &entry->id, original);
        if (result != JOB_MORE) return result;
        if (!same_id(&entry->id, &e->id) && !dedup_same(&r->policy, e->value, *original)) continue;
        *found = entry;
        break;
    }
    r->probing = false;
    return JOB_MORE;
}

/* ---- one event */

static void amendment_free(amendment_t *a)
{
    *a->back = a->next;
    if (a->next) a->next->back = a->back;
    buf_free(&a->value);
    free(a);
}

static void amended(log_request_t *request)
{
    amendment_t *a = (amendment_t *)request;
    rehash_t *r = a->rehash;

    if (request->result != LOG_OK) {
        r->failed = true;
        log_line("topic %s: an event could not be marked: %s", r->job.topic->name, request->why.text);
    }
    amendment_free(a);
    if (--r->amending) return;
    r->amending_bytes = 0;
    r->asked = false;
    jobs_wake(r->walk.service, &r->job);
}

static job_result_t ask_amendments(service_t *s, rehash_t *r)
{
    r->asked = true;
    for (amendment_t *a = r->amendments; a; a = a->next) log_amend(s->log, &a->amend);
    return JOB_WAIT;
}

static void write_back(rehash_t *r, const log_event_t *e)
{
    amendment_t *a = x_alloc(sizeof *a);

    a->rehash = r;
    buf_put(&a->value, r->out.ptr + r->out.start, buf_len(&r->out));
    a->amend.base.done = amended;
    a->amend.project = r->job.topic->project;
    a->amend.topic = r->job.topic->id;
    a->amend.offset = e->offset;
    a->amend.value = buf_bytes(&a->value);
    a->next = r->amendments;
    a->back = &r->amendments;
    if (a->next) a->next->back = &a->next;
    r->amendments = a;
    r->amending++;
    r->amending_bytes += buf_len(&a->value);
}

/* A duplicate whose original there is not was called one by its publisher: it is left so. The real service
   leaves the mark on what it has restored. */
static job_result_t restore(service_t *s, rehash_t *r, const log_event_t *e)
{
    buf_t whole = { NULL, 0, 0, 0 };
    ensign_slice_t original;
    job_result_t result;
    rlid_t id;

    if (!dedup_original(e->value, &id)) return JOB_MORE;
    result = walk_original(&r->walk, &id, &original);
    if (result != JOB_MORE || original.len == 0) return result;
    r->out.start = r->out.end = 0;
    if (restore_duplicate(e->value, original, s->strict ? &r->out : &whole) &&
        (s->strict || dedup_unmark(buf_bytes(&whole), &r->out)))
        write_back(r, e);
    buf_free(&whole);
    return JOB_MORE;
}

/* False in *usable: there is nothing to compare. The real service gives up there. */
static job_result_t hash_of(const service_t *s, rehash_t *r, ensign_slice_t value, name_hash_t *hash,
                            bool *usable)
{
    rlid_t id;

    *usable = (s->strict || !dedup_original(value, &id)) && dedup_hash(&r->policy, value, hash);
    if (!s->strict || (*usable && r->policy.strategy < DEDUP_UNIQUE_FIELD)) return JOB_MORE;
    log_line("topic %s: could not compute hash of event; empty events and UNIQUE_FIELD have none",
             r->job.topic->name);
    return JOB_FAILED;
}

static job_result_t find_last(service_t *s, rehash_t *r, const log_event_t *e)
{
    name_hash_t hash;
    seen_t *entry;
    ensign_slice_t original;
    bool usable;
    job_result_t result = hash_of(s, r, e->value, &hash, &usable);

    if (result != JOB_MORE || !usable) return result;
    result = seen_find(r, &hash, e, &entry, &original);
    if (result != JOB_MORE) return result;
    if (entry) entry->id = e->id;
    else seen_add(r, &hash, &e->id);
    return JOB_MORE;
}

static job_result_t mark(service_t *s, rehash_t *r, const log_event_t *e)
{
    name_hash_t hash;
    seen_t *entry = NULL;
    ensign_slice_t original;
    rlid_t id;
    bool usable;
    job_result_t result = hash_of(s, r, e->value, &hash, &usable);

    if (result == JOB_MORE && usable) result = seen_find(r, &hash, e, &entry, &original);
    if (result != JOB_MORE) return result;
    if (!s->strict && dedup_original(e->value, &id)) numbers_duplicate(s, r->job.topic, e->value);
    if (!usable) return JOB_MORE;
    if (!entry) seen_add(r, &hash, &e->id);
    if (!entry || same_id(&entry->id, &e->id)) return JOB_MORE;
    r->out.start = r->out.end = 0;
    if (!dedup_shrink(&r->policy, e->value, original, &entry->id, &r->out)) return JOB_MORE;
    /* The real service counts it for the type that is left of it. */
    numbers_duplicate(s, r->job.topic, s->strict ? buf_bytes(&r->out) : e->value);
    r->marked++;
    write_back(r, e);
    return JOB_MORE;
}

static job_result_t visit(service_t *s, rehash_t *r, const log_event_t *e)
{
    if (r->phase == RESTORE) return restore(s, r, e);
    if (r->phase == FIND) return find_last(s, r, e);
    return mark(s, r, e);
}

/* ---- the job */

/* The real service leaves the newest event alone, and knows no OFFSET_LATEST. */
static void next_phase(service_t *s, rehash_t *r)
{
    bool latest = r->policy.latest && !s->strict;
    uint64_t newest = numbers_last(s, r->job.topic), until = r->until;

    if (r->phase == RESTORE) numbers_no_duplicates(s, r->job.topic);
    if (r->phase == RESTORE && r->policy.strategy == DEDUP_NONE) r->phase = SAVE;
    else if (r->phase == RESTORE && !latest) r->phase = MARK;
    else r->phase++;
    if (s->strict && newest && newest <= until) until = newest - 1;
    walk_start(&r->walk, s, &r->job, r->job.topic, 0, until);
}

/* Somebody may have changed the topic meanwhile: then it is tried again, with what it is now. */
static void state_saved(change_t *x)
{
    rehash_t *r = (rehash_t *)x->job;
    log_result_t result = x->put.base.result;

    r->phase = result == LOG_CHANGED ? SAVE : SAVED;
    r->failed = result != LOG_OK && result != LOG_CHANGED;
    if (r->failed) log_line("the state of topic %s not changed: %s", x->topic->name, x->put.base.why.text);
    jobs_wake(x->service, x->job);
    change_free(x);
}

static job_result_t save_state(service_t *s, rehash_t *r)
{
    change_t *x = change_new(s, NULL, r->job.topic, state_saved);
    why_t why;

    x->job = &r->job;
    if (topic_set_state(x, MSG_TOPIC_STATE_READY, &why)) return JOB_WAIT;
    log_line("%s", why.text);
    change_free(x);
    return JOB_FAILED;
}

static job_result_t visit_page(service_t *s, rehash_t *r)
{
    job_result_t result;
    log_event_t e;

    for (size_t i = 0; (result = walk_peek(&r->walk, &e)) == JOB_MORE && i < WALK_RECORDS; i++) {
        if (r->amending >= WALK_RECORDS || r->amending_bytes >= WALK_BYTES) return ask_amendments(s, r);
        result = visit(s, r, &e);
        if (result != JOB_MORE) return result;
        walk_take(&r->walk);
    }
    return result;
}

/* An event that was marked as the duplicate of one that is shrunk now could not be restored any more. */
static job_result_t settle(service_t *s, rehash_t *r)
{
    if (!broker_answered(s->broker, r->handed)) {
        r->job.waits_for = s->broker;
        return JOB_WAIT;
    }
    r->until = log_last(s->log, &r->job.topic->project);
    r->phase = log_can_amend(s->log) ? COUNT : SAVE;
    return JOB_MORE;
}

static job_result_t step(service_t *s, job_t *j)
{
    rehash_t *r = (rehash_t *)j;
    job_result_t result;

    if (r->failed) return JOB_FAILED;
    if (r->asked) return JOB_WAIT;
    if (r->phase == SETTLE) return settle(s, r);
    if (r->phase == SAVED) return JOB_DONE;
    if (r->phase == SAVE) return save_state(s, r);
    if (r->phase == COUNT) {
        result = numbers_count(s, j->topic, r->until, j);
    } else {
        result = visit_page(s, r);
        if (result == JOB_DONE && r->amending) return ask_amendments(s, r);
    }
    if (result != JOB_DONE) return result;
    next_phase(s, r);
    return JOB_MORE;
}

static void end(service_t *s, job_t *j, bool done)
{
    rehash_t *r = (rehash_t *)j;

    if (done)
        log_line("topic %s: deduplicated, %llu duplicates", j->topic->name, (unsigned long long)r->marked);
    while (r->amendments) {
        if (r->asked) log_cancel(s->log, &r->amendments->amend.base);
        amendment_free(r->amendments);
    }
    dedup_policy_free(&r->policy);
    walk_free(&r->walk);
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
    r->handed = s->broker->handed;
    r->walk.service = s;
    if (!dedup_policy_read(slice_of(t->message, t->message_len), &r->policy)) r->policy.strategy = DEDUP_NONE;
    jobs_add(s, &r->job);
}
