/* log.c - the front of log.h: what was asked for and is not answered yet, the metadata, who follows
 *
 * Holds  a request stands in `waiting`, in the order of asking, until an engine has answered it; then in
 *        `answered` until log_run calls its done. HANDED: the engine has it. HELD: it waits for `again`, or
 *        behind an append of its project that is HELD.
 *        An answer is given before the engine runs again, so what a read points at is still there.
 *        Answers that come while answers are given wait for the next log_run: a request that is asked again
 *        from its own done never keeps the loop.
 * Moves  asked -> HANDED -> answered; a failed one -> HELD for RETRY_MS -> HANDED, until the timeout.
 * Fails  when a request fails at its timeout, the front puts a record of its own until that works: so
 *        log_healthy finds out by itself when the engine works again. */
#include "log_engine.h"
#include <stdlib.h>
#include <string.h>

#define RETRY_MS 100
#define OVERDUE_MS 1000                 /* longer than this, a request makes the log unhealthy */
#define FULL_BYTES (32u << 20)          /* of appends without an answer */
#define EVENT_BYTES 64u                 /* what an event counts beside its value */

enum { KIND_APPEND, KIND_READ, KIND_AMEND, KIND_DESTROY, KIND_PUT };
enum { STATE_HELD, STATE_HANDED, STATE_ANSWERED };

typedef struct queue_t { log_request_t *first, **end; } queue_t;
typedef struct record_t { ensign_slice_t key, value; uint64_t revision; } record_t;     /* both are its own */

/* A project some of whose appends are HELD: its last ones, as many as there are. */
typedef struct held_t { ulid_t project; size_t count; bool waits; } held_t;

struct log_t {
    const log_engine_t *engine;
    void         *at;                   /* the engine's own */
    int64_t       timeout;              /* ms */
    uint64_t      serial;
    queue_t       waiting, answered;
    size_t        append_bytes;
    held_t       *held;
    size_t        held_count, held_cap;
    bool          overdue, stopped;
    log_put_t     probe;
    bool          probing;
    record_t     *records;              /* in order of the keys */
    size_t        record_count, record_cap;
    log_watch_t  *watches;
    log_follow_t *followers, *next_follower;    /* the next one to be told */
};

/* ---- requests */

static void queue_init(queue_t *q)
{
    q->first = NULL;
    q->end = &q->first;
}

static void queue_put(queue_t *q, log_request_t *r)
{
    r->next = NULL;
    r->back = q->end;
    *q->end = r;
    q->end = &r->next;
}

static void queue_take(queue_t *q, log_request_t *r)
{
    *r->back = r->next;
    if (r->next) r->next->back = r->back;
    else q->end = r->back;
}

static size_t append_bytes(const log_request_t *r)
{
    const log_append_t *a = (const log_append_t *)r;
    size_t n = 0;

    if (r->kind != KIND_APPEND) return 0;
    for (size_t i = 0; i < a->count; i++) n += a->events[i].value.len + EVENT_BYTES;
    return n;
}

/* NULL: no append of its project is HELD, or it is no append. */
static held_t *held_of(const log_t *l, const log_request_t *r)
{
    if (r->kind != KIND_APPEND) return NULL;
    for (size_t i = 0; i < l->held_count; i++)
        if (ulid_eq(&l->held[i].project, &((const log_append_t *)r)->project)) return &l->held[i];
    return NULL;
}

static void hold(log_t *l, log_request_t *r, int64_t again)
{
    held_t *h = held_of(l, r);

    r->state = STATE_HELD;
    r->again = again;
    if (r->kind != KIND_APPEND) return;
    if (!h) {
        if (l->held_count == l->held_cap) {
            l->held_cap = l->held_cap ? 2 * l->held_cap : 8;
            l->held = x_realloc(l->held, l->held_cap * sizeof *l->held);
        }
        h = &l->held[l->held_count++];
        h->project = ((const log_append_t *)r)->project;
        h->count = 0;
        h->waits = false;
    }
    h->count++;
}

/* Its state is another one from now on. */
static void set_state(log_t *l, log_request_t *r, int state)
{
    held_t *h = r->state == STATE_HELD ? held_of(l, r) : NULL;

    if (h && --h->count == 0) *h = l->held[--l->held_count];
    r->state = state;
}

static void hand_over(log_t *l, log_request_t *r)
{
    set_state(l, r, STATE_HANDED);
    switch (r->kind) {
    case KIND_APPEND: l->engine->append(l->at, (log_append_t *)r); break;
    case KIND_READ: l->engine->read(l->at, (log_read_t *)r); break;
    case KIND_AMEND: l->engine->amend(l->at, (log_amend_t *)r); break;
    case KIND_DESTROY: l->engine->destroy(l->at, (log_destroy_t *)r); break;
    default: l->engine->put(l->at, (log_put_t *)r); break;
    }
}

/* A request that the engine does not have any more. */
static void answer(log_t *l, log_request_t *r, log_result_t result)
{
    set_state(l, r, STATE_ANSWERED);
    queue_take(&l->waiting, r);
    r->result = result;
    queue_put(&l->answered, r);
}

static void ask(log_t *l, log_request_t *r, int kind)
{
    r->kind = kind;
    r->state = STATE_HANDED;
    r->result = LOG_OK;
    r->why.text[0] = '\0';
    r->asked = now_ms();
    r->serial = ++l->serial;
    if (l->stopped) return;
    l->append_bytes += append_bytes(r);
    queue_put(&l->waiting, r);
    if (kind == KIND_AMEND && !log_can_amend(l)) answer(l, r, LOG_UNSUPPORTED);
    else if (held_of(l, r)) hold(l, r, 0);
    else hand_over(l, r);
}

void log_append(log_t *l, log_append_t *r)
{
    for (size_t i = 0; i < r->count; i++) r->events[i].offset = 0;
    ask(l, &r->base, KIND_APPEND);
}

void log_read(log_t *l, log_read_t *r)
{
    r->events = NULL;
    r->count = 0;
    ask(l, &r->base, KIND_READ);
}

void log_amend(log_t *l, log_amend_t *r)
{
    r->found = false;
    ask(l, &r->base, KIND_AMEND);
}

void log_destroy(log_t *l, log_destroy_t *r)
{
    ask(l, &r->base, KIND_DESTROY);
}

void log_put(log_t *l, log_put_t *r)
{
    ask(l, &r->base, KIND_PUT);
}

void log_cancel(log_t *l, log_request_t *r)
{
    if (l->stopped) return;
    if (r->state == STATE_HANDED) l->engine->cancel(l->at, r);
    queue_take(r->state == STATE_ANSWERED ? &l->answered : &l->waiting, r);
}

void log_stop(log_t *l)
{
    l->stopped = true;
}

/* ---- failing */

static void probed(log_request_t *r)
{
    log_t *l = r->user;
    l->probing = false;
}

static void fail_request(log_t *l, log_request_t *r)
{
    bool wrote = r->kind != KIND_READ;

    answer(l, r, LOG_FAILED);
    if (!wrote || l->probing) return;
    l->probing = true;
    l->probe.revision = LOG_ANY_REVISION;
    log_put(l, &l->probe);
}

/* The probe has all the time that it needs, and so has a destruction: that of a large topic is done in
   slices. */
static bool has_all_time(const log_t *l, const log_request_t *r)
{
    return r->kind == KIND_DESTROY || r == &l->probe.base;
}

static bool is_due(const log_t *l, const log_request_t *r, int64_t now)
{
    return !has_all_time(l, r) && now - r->asked >= l->timeout;
}

static bool is_overdue(const log_request_t *r, int64_t now)
{
    return now - r->asked >= OVERDUE_MS && (r->kind != KIND_DESTROY || r->state == STATE_HELD);
}

void log_answer(log_t *l, log_request_t *r, log_result_t result, const char *why)
{
    int64_t now;

    if (result != LOG_FAILED) {
        answer(l, r, result);
        return;
    }
    now = now_ms();
    fail(&r->why, "%s", why);
    hold(l, r, now + RETRY_MS);
    if (is_due(l, r, now)) fail_request(l, r);
}

static void fail_late(log_t *l, log_request_t *r)
{
    if (r->state == STATE_HANDED) {
        l->engine->cancel(l->at, r);
        fail(&r->why, "the log did not answer in time");
    }
    fail_request(l, r);
}

/* What was held long enough is handed over again, but no append before an earlier one of its project. */
static void try_again(log_t *l, log_request_t *r, int64_t now)
{
    held_t *h = held_of(l, r);

    if (now >= r->again && !(h && h->waits)) hand_over(l, r);
    else if (h) h->waits = true;
}

/* In the order of asking. */
static void look_after(log_t *l)
{
    int64_t now = l->waiting.first ? now_ms() : 0;
    log_request_t *next;

    l->overdue = l->probing;
    for (size_t i = 0; i < l->held_count; i++) l->held[i].waits = false;
    for (log_request_t *r = l->waiting.first; r; r = next) {
        next = r->next;
        if (is_overdue(r, now)) l->overdue = true;
        if (is_due(l, r, now)) fail_late(l, r);
        else if (r->state == STATE_HELD) try_again(l, r, now);
    }
}

bool log_healthy(const log_t *l)
{
    return !l->overdue;
}

bool log_full(const log_t *l)
{
    return l->append_bytes >= FULL_BYTES;
}

/* ---- the loop */

static void give_answers(log_t *l)
{
    uint64_t newest = l->serial;

    while (l->answered.first && l->answered.first->serial <= newest) {
        log_request_t *r = l->answered.first;
        queue_take(&l->answered, r);
        l->append_bytes -= append_bytes(r);
        r->done(r);
    }
}

void log_run(log_t *l)
{
    give_answers(l);
    l->engine->run(l->at);
    give_answers(l);
    look_after(l);
}

int log_fd(const log_t *l)
{
    return l->engine->fd(l->at);
}

/* When something has to be done about a request; 0: the engine answers it whenever it can. */
static int64_t due_of(const log_t *l, const log_request_t *r)
{
    int64_t overdue = r->asked + OVERDUE_MS, end = r->asked + l->timeout;

    if (r->state == STATE_HELD) return r->again;
    if (has_all_time(l, r)) return 0;
    return l->overdue || overdue > end ? end : overdue;
}

int64_t log_due(const log_t *l)
{
    int64_t due = l->engine->due(l->at);

    if (l->answered.first) return 1;
    for (const log_request_t *r = l->waiting.first; r; r = r->next) {
        int64_t at = due_of(l, r);
        if (at && (due == 0 || at < due)) due = at;
    }
    return due;
}

/* ---- metadata */

/* The place of the first record with this key or a higher one. */
static size_t record_at(const log_t *l, ensign_slice_t key)
{
    size_t low = 0, high = l->record_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_order(l->records[middle].key, key) < 0) low = middle + 1;
        else high = middle;
    }
    return low;
}

static bool is_record(const log_t *l, size_t at, ensign_slice_t key)
{
    return at < l->record_count && slice_eq(l->records[at].key, key);
}

static bool has_prefix(ensign_slice_t key, const char *prefix)
{
    size_t n = strlen(prefix);
    return key.len >= n && memcmp(key.ptr, prefix, n) == 0;
}

static ensign_slice_t slice_copy(ensign_slice_t s)
{
    return slice_of(slice_dup(s), s.len);
}

static void record_free(record_t *r)
{
    free((void *)(uintptr_t)r->key.ptr);
    free((void *)(uintptr_t)r->value.ptr);
}

static void record_insert(log_t *l, size_t at, ensign_slice_t key)
{
    if (l->record_count == l->record_cap) {
        l->record_cap = l->record_cap ? 2 * l->record_cap : 64;
        l->records = x_realloc(l->records, l->record_cap * sizeof *l->records);
    }
    memmove(&l->records[at + 1], &l->records[at], (l->record_count++ - at) * sizeof *l->records);
    memset(&l->records[at], 0, sizeof *l->records);
    l->records[at].key = slice_copy(key);
}

static void record_remove(log_t *l, size_t at)
{
    record_free(&l->records[at]);
    memmove(&l->records[at], &l->records[at + 1], (--l->record_count - at) * sizeof *l->records);
}

void log_known(log_t *l, ensign_slice_t key, ensign_slice_t value, uint64_t revision)
{
    size_t at = record_at(l, key);
    bool known = is_record(l, at, key);

    if (value.len) {
        if (!known) record_insert(l, at, key);
        free((void *)(uintptr_t)l->records[at].value.ptr);
        l->records[at].value = slice_copy(value);
        l->records[at].revision = revision;
    } else if (known) {
        record_remove(l, at);
    }
    for (const log_watch_t *w = l->watches; w; w = w->next)
        if (has_prefix(key, w->prefix)) w->changed(w->user, key, value);
}

bool log_get(const log_t *l, ensign_slice_t key, ensign_slice_t *value, uint64_t *revision)
{
    size_t at = record_at(l, key);
    bool known = is_record(l, at, key);

    if (value) *value = known ? l->records[at].value : slice_of(NULL, 0);
    if (revision) *revision = known ? l->records[at].revision : 0;
    return known;
}

void log_each_in(const log_t *l, ensign_slice_t prefix, log_each_t *each, void *user)
{
    for (size_t at = record_at(l, prefix); at < l->record_count; at++) {
        const record_t *r = &l->records[at];
        bool here = r->key.len >= prefix.len && memcmp(r->key.ptr, prefix.ptr, prefix.len) == 0;
        if (!here || !each(user, r->key, r->value)) return;
    }
}

void log_each(const log_t *l, const char *prefix, log_each_t *each, void *user)
{
    log_each_in(l, slice_text(prefix), each, user);
}

void log_watch(log_t *l, log_watch_t *w)
{
    w->next = l->watches;
    l->watches = w;
}

/* ---- followers */

static bool is_followed(const log_t *l, const ulid_t *project)
{
    const log_follow_t *f = l->followers;

    while (f && !ulid_eq(&f->project, project)) f = f->next;
    return f != NULL;
}

void log_follow(log_t *l, log_follow_t *f)
{
    if (!is_followed(l, &f->project)) l->engine->follow(l->at, &f->project);
    f->from = l->engine->last(l->at, &f->project);
    f->next = l->followers;
    f->back = &l->followers;
    if (f->next) f->next->back = &f->next;
    l->followers = f;
}

void log_unfollow(log_t *l, log_follow_t *f)
{
    if (l->next_follower == f) l->next_follower = f->next;
    *f->back = f->next;
    if (f->next) f->next->back = f->back;
}

static void tell(log_follow_t *f, const log_event_t *events, size_t count)
{
    while (count && events->offset <= f->from) {
        events++;
        count--;
    }
    if (count == 0) return;
    f->from = events[count - 1].offset;
    f->events(f, events, count);
}

void log_told(log_t *l, const ulid_t *project, const log_event_t *events, size_t count)
{
    for (log_follow_t *f = l->followers; f; f = l->next_follower) {
        l->next_follower = f->next;
        if (ulid_eq(&f->project, project)) tell(f, events, count);
    }
}

/* ---- life */

log_t *log_open(const log_engine_t *engine, const char *where, log_mode_t mode, int64_t timeout_ms,
                why_t *why)
{
    log_t *l = x_alloc(sizeof *l);

    l->engine = engine;
    l->timeout = timeout_ms;
    queue_init(&l->waiting);
    queue_init(&l->answered);
    l->probe.base.done = probed;
    l->probe.base.user = l;
    l->probe.key = slice_text("probe");
    l->probe.value = slice_text("1");
    l->at = engine->open(l, where, mode, why);
    if (l->at) return l;
    log_close(l);
    return NULL;
}

void log_close(log_t *l)
{
    if (!l) return;
    if (l->at) l->engine->close(l->at);
    for (size_t i = 0; i < l->record_count; i++) record_free(&l->records[i]);
    free(l->records);
    free(l->held);
    free(l);
}

uint64_t log_epoch(const log_t *l, const ulid_t *project)
{
    return l->engine->epoch(l->at, project);
}

uint64_t log_last(const log_t *l, const ulid_t *project)
{
    return l->engine->last(l->at, project);
}

bool log_can_amend(const log_t *l)
{
    return l->engine->can_amend;
}

bool log_is_shared(const log_t *l)
{
    return l->engine->shared;
}

bool log_idle(const log_t *l)
{
    for (const log_follow_t *f = l->followers; f; f = f->next)
        if (f->from < l->engine->last(l->at, &f->project)) return false;
    return !l->waiting.first && !l->answered.first;
}
