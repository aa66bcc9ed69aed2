/* log_late.c - an engine that answers late, out of order and not at the first time, for the tests of what is
 * above log.h
 *
 * The log lies in memory. A request waits for some calls of run, so answers overtake each other; only the
 * appends of one project keep their order. Some requests fail, some of them after they were done: a part of
 * an append may be stored, or all of it. What was done and not said is remembered by the request's serial
 * until it is handed over again. Followers and watches hear of a change later than the log has it. Offsets
 * skip, and a read may stop early. One generator decides all that, and `where` is its seed: the same calls
 * bring the same answers. The clock gives no more than the times of commits. */
#include "log_engine.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    TURNS_MOST = 6,     /* that something waits */
    FAILS_ONE_OF = 16,
    SKIPS_ONE_OF = 4,   /* offsets, by up to SKIP_MOST */
    SKIP_MOST = 9,
    SHORT_ONE_OF = 4,   /* reads that look at no more than SHORT_MOST events */
    SHORT_MOST = 7
};

typedef enum { JOB_APPEND, JOB_READ, JOB_AMEND, JOB_DESTROY, JOB_PUT } job_kind_t;

typedef struct job_t job_t;
struct job_t {
    log_request_t *request;
    job_kind_t     kind;
    uint32_t       turns;               /* that it still waits */
    job_t         *next;
};
typedef struct jobs_t { job_t *first, **last; } jobs_t;

typedef struct project_t project_t;
struct project_t {
    ulid_t       id;
    jobs_t       appends;               /* in the order in which they were asked for */
    log_event_t *events;                /* with values of their own */
    size_t       count, cap;
    uint64_t     last;                  /* offset; 0: none */
    bool         followed;
    uint64_t     told;                  /* the followers' last offset */
    uint32_t     turns;                 /* until they hear of more; 0: not counting */
    project_t   *next;
};

typedef struct record_t { ensign_slice_t key, value; uint64_t revision; } record_t;   /* both are its own */

/* The watches hear of a change, then the put is answered. A put that changed nothing waits here too, so that
   its caller has heard of what was there before it. */
typedef struct change_t change_t;
struct change_t {
    log_put_t   *put;                   /* NULL: it was cancelled */
    log_result_t result;
    record_t     record;                /* no key: nothing changed */
    uint32_t     turns;
    change_t    *next;
};

/* A request that failed after it was done. */
typedef struct unsaid_t unsaid_t;
struct unsaid_t {
    uint64_t  serial;
    size_t    count;
    uint64_t *numbers;                  /* offsets of an append's first events, or the revision of a put */
    unsaid_t *next;
};

/* What a read answered, until the next run. */
typedef struct page_t page_t;
struct page_t { log_event_t *events; size_t count, cap; buf_t values; page_t *next; };

typedef struct late_t {
    log_t     *front;
    uint64_t   random, epoch, revision;
    jobs_t     jobs, ready;             /* all but appends; those of them whose turn it is */
    project_t *projects;
    record_t  *records;                 /* in order of the keys */
    size_t     record_count, record_cap;
    change_t  *changes, **changes_last;
    unsaid_t  *unsaid;
    page_t    *pages;
    int64_t    ms;                      /* of the last commit: RLIDs do not go back with the clock */
} late_t;

static const char not_this_time[] = "the late engine fails on purpose";

/* ---- chance */

static uint32_t below(late_t *e, uint32_t n)
{
    uint64_t z = e->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 32) % n;
}

static bool one_of(late_t *e, uint32_t n)
{
    return below(e, n) == 0;
}

static uint32_t some_turns(late_t *e)
{
    return 1 + below(e, TURNS_MOST);
}

/* Makes room for one more in an array of `count`. */
static void *grow(void *array, size_t count, size_t *cap, size_t size)
{
    if (count < *cap) return array;
    *cap = *cap ? 2 * *cap : 16;
    return x_realloc(array, *cap * size);
}

/* ---- jobs */

static void jobs_init(jobs_t *j)
{
    j->first = NULL;
    j->last = &j->first;
}

static void jobs_put(jobs_t *j, job_t *job)
{
    job->next = NULL;
    *j->last = job;
    j->last = &job->next;
}

static void jobs_unlink(jobs_t *j, job_t **at)
{
    job_t *job = *at;
    *at = job->next;
    if (!job->next) j->last = at;
}

static bool jobs_cancel(jobs_t *j, const log_request_t *r)
{
    for (job_t **at = &j->first; *at; at = &(*at)->next) {
        job_t *job = *at;
        if (job->request != r) continue;
        jobs_unlink(j, at);
        free(job);
        return true;
    }
    return false;
}

static log_request_t *jobs_take(jobs_t *j)
{
    job_t *job = j->first;
    log_request_t *r = job->request;

    jobs_unlink(j, &j->first);
    free(job);
    return r;
}

static void jobs_free(jobs_t *j)
{
    while (j->first) jobs_take(j);
}

static void wait_for(late_t *e, jobs_t *j, job_kind_t kind, log_request_t *r)
{
    job_t *job = x_alloc(sizeof *job);

    job->request = r;
    job->kind = kind;
    job->turns = some_turns(e);
    jobs_put(j, job);
}

/* ---- done, and not said */

static void remember(late_t *e, uint64_t serial, const uint64_t *numbers, size_t count)
{
    unsaid_t *u = x_alloc(sizeof *u);

    u->serial = serial;
    u->count = count;
    u->numbers = x_alloc(count * sizeof *numbers);
    memcpy(u->numbers, numbers, count * sizeof *numbers);
    u->next = e->unsaid;
    e->unsaid = u;
}

/* The caller frees it; NULL: nothing of the request was done before. */
static unsaid_t *recall(late_t *e, uint64_t serial)
{
    for (unsaid_t **at = &e->unsaid; *at; at = &(*at)->next) {
        unsaid_t *u = *at;
        if (u->serial != serial) continue;
        *at = u->next;
        return u;
    }
    return NULL;
}

static void unsaid_free(unsaid_t *u)
{
    if (u) free(u->numbers);
    free(u);
}

/* ---- events */

static project_t *project_of(late_t *e, const ulid_t *id)
{
    project_t *p;

    for (p = e->projects; p; p = p->next)
        if (ulid_eq(&p->id, id)) return p;
    p = x_alloc(sizeof *p);
    p->id = *id;
    jobs_init(&p->appends);
    p->next = e->projects;
    return e->projects = p;
}

/* The index of the first event behind the offset. */
static size_t behind(const project_t *p, uint64_t offset)
{
    size_t low = 0, high = p->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (p->events[middle].offset > offset) high = middle;
        else low = middle + 1;
    }
    return low;
}

/* The index of the first event whose id is the given one or higher: ids rise with the offsets. */
static size_t at_id(const project_t *p, const rlid_t *id)
{
    size_t low = 0, high = p->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(&p->events[middle].id, id, sizeof *id) >= 0) high = middle;
        else low = middle + 1;
    }
    return low;
}

static uint64_t store(late_t *e, project_t *p, const log_new_t *n, stamp_t when)
{
    log_event_t *event;

    p->events = grow(p->events, p->count, &p->cap, sizeof *p->events);
    event = &p->events[p->count++];
    event->offset = p->last + 1 + (one_of(e, SKIPS_ONE_OF) ? below(e, SKIP_MOST) : 0);
    event->topic = n->topic;
    event->id = rlid_make(e->ms, (uint32_t)event->offset);
    event->committed = when;
    event->value = slice_of(slice_dup(n->value), n->value.len);
    return p->last = event->offset;
}

static stamp_t commit_time(late_t *e)
{
    stamp_t t;
    int64_t ms;

    wall_now(&t.seconds, &t.nanos);
    ms = t.seconds * 1000 + t.nanos / 1000000;
    if (ms > e->ms) e->ms = ms;
    return t;
}

/* Stores what an attempt before has not stored. False: it fails, after a part of them, or all. */
static bool try_append(late_t *e, project_t *p, log_append_t *r, bool failing)
{
    unsaid_t *before = recall(e, r->base.serial);
    size_t i = 0, most = r->count;
    uint64_t *offsets = x_alloc(r->count * sizeof *offsets);

    r->committed = commit_time(e);
    for (; before && i < before->count; i++) offsets[i] = before->numbers[i];
    if (failing) most = i + below(e, (uint32_t)(r->count - i) + 1);
    for (; i < most; i++) offsets[i] = store(e, p, &r->events[i], r->committed);
    if (failing) remember(e, r->base.serial, offsets, i);
    else
        for (i = 0; i < r->count; i++) r->events[i].offset = offsets[i];
    unsaid_free(before);
    free(offsets);
    return !failing;
}

/* One attempt of a turn fails at most. Behind it nothing must be stored, so all the others fail with it. */
static void run_appends(late_t *e, project_t *p)
{
    uint32_t count = 0, fails_at;

    for (job_t *job = p->appends.first; job; job = job->next)
        if (job->turns) job->turns--;
    for (job_t *job = p->appends.first; job && !job->turns; job = job->next) count++;
    if (!count) return;
    fails_at = one_of(e, FAILS_ONE_OF) ? below(e, count) : count;
    for (uint32_t i = 0; i < count && p->appends.first; i++) {
        log_request_t *r = jobs_take(&p->appends);
        bool ok = try_append(e, p, (log_append_t *)r, i == fails_at);
        log_answer(e->front, r, ok ? LOG_OK : LOG_FAILED, not_this_time);
        while (!ok && p->appends.first)
            log_answer(e->front, jobs_take(&p->appends), LOG_FAILED, not_this_time);
    }
}

static void tell(late_t *e, project_t *p)
{
    size_t first = behind(p, p->told), count = p->count - first;

    if (!p->followed || !count) return;
    if (!p->turns) p->turns = some_turns(e);
    if (--p->turns) return;
    count = 1 + below(e, (uint32_t)count);
    p->told = p->events[first + count - 1].offset;
    log_told(e->front, &p->id, &p->events[first], count);
}

static void page_add(page_t *page, const log_event_t *event)
{
    page->events = grow(page->events, page->count, &page->cap, sizeof *page->events);
    page->events[page->count++] = *event;
    buf_put(&page->values, event->value.ptr, event->value.len);
}

/* The values have moved for the last time: points the events at them. */
static void page_answer(late_t *e, page_t *page, log_read_t *r)
{
    const uint8_t *at = page->values.ptr;

    for (size_t i = 0; i < page->count; i++) {
        page->events[i].value = slice_of(at, page->events[i].value.len);
        if (at) at += page->events[i].value.len;
    }
    r->events = page->events;
    r->count = page->count;
    page->next = e->pages;
    e->pages = page;
}

static void pages_free(late_t *e)
{
    while (e->pages) {
        page_t *page = e->pages;
        e->pages = page->next;
        buf_free(&page->values);
        free(page->events);
        free(page);
    }
}

static int topic_order(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(ulid_t));
}

static bool is_wanted(const log_read_t *r, const ulid_t *topic)
{
    return !r->topic_count || bsearch(topic, r->topics, r->topic_count, sizeof *topic, topic_order);
}

static void do_read(late_t *e, log_read_t *r)
{
    const project_t *p = project_of(e, &r->project);
    page_t *page = x_alloc(sizeof *page);
    size_t looks = one_of(e, SHORT_ONE_OF) ? 1 + below(e, SHORT_MOST) : SIZE_MAX;
    size_t i = r->by_id ? at_id(p, &r->id) : behind(p, r->after);
    uint64_t reached = r->by_id ? 0 : r->after;

    for (; i < p->count && p->events[i].offset <= r->until; i++) {
        const log_event_t *event = &p->events[i];
        bool full = page->count >= r->most_events ||
                    (r->most_bytes && buf_len(&page->values) >= r->most_bytes);
        if (!looks-- || full) break;
        if (is_wanted(r, &event->topic)) page_add(page, event);
        reached = event->offset;
    }
    r->end = i == p->count || p->events[i].offset > r->until;
    if (r->end && reached < p->last) reached = r->until < p->last ? r->until : p->last;
    r->reached = reached;
    page_answer(e, page, r);
}

static void do_amend(late_t *e, log_amend_t *r)
{
    project_t *p = project_of(e, &r->project);
    size_t i = behind(p, r->offset - 1);
    log_event_t *event = i < p->count ? &p->events[i] : NULL;

    r->found = event && event->offset == r->offset && ulid_eq(&event->topic, &r->topic);
    if (!r->found) return;
    free((void *)event->value.ptr);
    event->value = slice_of(slice_dup(r->value), r->value.len);
}

static void do_destroy(late_t *e, const log_destroy_t *r)
{
    project_t *p = project_of(e, &r->project);
    size_t kept = 0;

    for (size_t i = 0; i < p->count; i++) {
        if (ulid_eq(&p->events[i].topic, &r->topic)) free((void *)p->events[i].value.ptr);
        else p->events[kept++] = p->events[i];
    }
    p->count = kept;
}

/* ---- metadata */

static void record_set(record_t *to, ensign_slice_t key, ensign_slice_t value, uint64_t revision)
{
    to->key = slice_of(slice_dup(key), key.len);
    to->value = slice_of(slice_dup(value), value.len);
    to->revision = revision;
}

static void record_free(record_t *r)
{
    free((void *)r->key.ptr);
    free((void *)r->value.ptr);
}

/* The index of the first record with this key or a higher one. */
static size_t record_at(const late_t *e, ensign_slice_t key)
{
    size_t low = 0, high = e->record_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_order(e->records[middle].key, key) >= 0) high = middle;
        else low = middle + 1;
    }
    return low;
}

/* Returns the put's revision, or 0 where the record is at another one than the caller's. */
static uint64_t change_record(late_t *e, const log_put_t *r)
{
    size_t i = record_at(e, r->key);
    bool there = i < e->record_count && slice_eq(e->records[i].key, r->key);

    if (r->revision != LOG_ANY_REVISION && r->revision != (there ? e->records[i].revision : 0)) return 0;
    if (there) {
        record_free(&e->records[i]);
        memmove(&e->records[i], &e->records[i + 1], (--e->record_count - i) * sizeof *e->records);
    }
    e->revision++;
    if (!r->value.len) return e->revision;
    e->records = grow(e->records, e->record_count, &e->record_cap, sizeof *e->records);
    memmove(&e->records[i + 1], &e->records[i], (e->record_count++ - i) * sizeof *e->records);
    record_set(&e->records[i], r->key, r->value, e->revision);
    return e->revision;
}

static void do_put(late_t *e, log_put_t *r, bool failing)
{
    unsaid_t *before = recall(e, r->base.serial);
    uint64_t revision = before ? before->numbers[0] : change_record(e, r);
    change_t *c = x_alloc(sizeof *c);

    c->put = r;
    c->result = !revision ? LOG_CHANGED : failing ? LOG_FAILED : LOG_OK;
    c->turns = some_turns(e);
    if (revision && !before) record_set(&c->record, r->key, r->value, revision);
    if (revision && failing) remember(e, r->base.serial, &revision, 1);
    c->record.revision = revision;
    *e->changes_last = c;
    e->changes_last = &c->next;
    unsaid_free(before);
}

static change_t *change_take(late_t *e)
{
    change_t *c = e->changes;

    e->changes = c->next;
    if (!e->changes) e->changes_last = &e->changes;
    return c;
}

static void change_free(change_t *c)
{
    record_free(&c->record);
    free(c);
}

/* In the order in which they were made. A change stays listed while a watch hears of it, who may cancel its
   put. */
static void run_changes(late_t *e)
{
    for (change_t *c = e->changes; c; c = c->next)
        if (c->turns) c->turns--;
    while (e->changes && !e->changes->turns) {
        change_t *c = e->changes;
        if (c->record.key.ptr) log_known(e->front, c->record.key, c->record.value, c->record.revision);
        change_take(e);
        if (c->put && c->result == LOG_OK) c->put->revision = c->record.revision;
        if (c->put) log_answer(e->front, &c->put->base, c->result, not_this_time);
        change_free(c);
    }
}

/* ---- the engine */

static void *late_open(log_t *front, const char *where, log_mode_t mode, why_t *why)
{
    late_t *e;
    uint64_t seed;
    char *end = NULL;

    (void)mode;
    errno = 0;
    seed = where ? strtoull(where, &end, 10) : 0;
    if (!where || end == where || *end || errno) {
        fail(why, "--store late:%s: its seed is not a whole number; give one", where ? where : "");
        return NULL;
    }
    e = x_alloc(sizeof *e);
    e->front = front;
    e->random = seed;
    if (!random_bytes(&e->epoch, sizeof e->epoch)) e->epoch = (uint64_t)wall_ms();
    e->epoch |= 1;                      /* 0 is none */
    jobs_init(&e->jobs);
    jobs_init(&e->ready);
    e->changes_last = &e->changes;
    return e;
}

static void late_append(void *engine, log_append_t *r)
{
    wait_for(engine, &project_of(engine, &r->project)->appends, JOB_APPEND, &r->base);
}

static void late_read(void *engine, log_read_t *r)
{
    late_t *e = engine;
    wait_for(e, &e->jobs, JOB_READ, &r->base);
}

static void late_amend(void *engine, log_amend_t *r)
{
    late_t *e = engine;
    wait_for(e, &e->jobs, JOB_AMEND, &r->base);
}

static void late_destroy(void *engine, log_destroy_t *r)
{
    late_t *e = engine;
    wait_for(e, &e->jobs, JOB_DESTROY, &r->base);
}

static void late_put(void *engine, log_put_t *r)
{
    late_t *e = engine;
    wait_for(e, &e->jobs, JOB_PUT, &r->base);
}

static void late_cancel(void *engine, log_request_t *r)
{
    late_t *e = engine;

    if (jobs_cancel(&e->jobs, r) || jobs_cancel(&e->ready, r)) return;
    for (project_t *p = e->projects; p; p = p->next)
        if (jobs_cancel(&p->appends, r)) return;
    for (change_t *c = e->changes; c; c = c->next)
        if (c->put && &c->put->base == r) c->put = NULL;
}

static void late_follow(void *engine, const ulid_t *project)
{
    project_t *p = project_of(engine, project);

    if (!p->followed) p->told = p->last;
    p->followed = true;
}

static void do_job(late_t *e, job_kind_t kind, log_request_t *r)
{
    bool failing = one_of(e, FAILS_ONE_OF);

    if (kind == JOB_PUT) {
        if (failing && one_of(e, 2)) log_answer(e->front, r, LOG_FAILED, not_this_time);
        else do_put(e, (log_put_t *)r, failing);
        return;
    }
    if (kind == JOB_READ && !failing) do_read(e, (log_read_t *)r);
    if (kind == JOB_AMEND) do_amend(e, (log_amend_t *)r);       /* twice is as good as once */
    if (kind == JOB_DESTROY) do_destroy(e, (log_destroy_t *)r);
    log_answer(e->front, r, failing ? LOG_FAILED : LOG_OK, not_this_time);
}

static void run_jobs(late_t *e)
{
    for (job_t **at = &e->jobs.first, *job; (job = *at) != NULL;) {
        if (--job->turns) {
            at = &job->next;
            continue;
        }
        jobs_unlink(&e->jobs, at);
        jobs_put(&e->ready, job);
    }
    while (e->ready.first) {
        job_kind_t kind = e->ready.first->kind;
        do_job(e, kind, jobs_take(&e->ready));
    }
}

static void late_run(void *engine)
{
    late_t *e = engine;

    pages_free(e);
    run_jobs(e);
    run_changes(e);
    for (project_t *p = e->projects; p; p = p->next) {
        run_appends(e, p);
        tell(e, p);
    }
}

static int late_fd(const void *engine)
{
    (void)engine;
    return -1;
}

/* At once, while anything waits for a turn. */
static int64_t late_due(const void *engine)
{
    const late_t *e = engine;
    bool waits = e->jobs.first || e->changes;

    for (const project_t *p = e->projects; p && !waits; p = p->next)
        waits = p->appends.first || (p->followed && behind(p, p->told) < p->count);
    return waits ? 1 : 0;
}

static uint64_t late_epoch(void *engine, const ulid_t *project)
{
    const late_t *e = engine;
    (void)project;
    return e->epoch;
}

static uint64_t late_last(void *engine, const ulid_t *project)
{
    return project_of(engine, project)->last;
}

static void projects_free(late_t *e)
{
    while (e->projects) {
        project_t *p = e->projects;
        e->projects = p->next;
        jobs_free(&p->appends);
        for (size_t i = 0; i < p->count; i++) free((void *)p->events[i].value.ptr);
        free(p->events);
        free(p);
    }
}

static void late_close(void *engine)
{
    late_t *e = engine;

    jobs_free(&e->jobs);
    jobs_free(&e->ready);
    projects_free(e);
    pages_free(e);
    while (e->changes) change_free(change_take(e));
    while (e->unsaid) unsaid_free(recall(e, e->unsaid->serial));
    for (size_t i = 0; i < e->record_count; i++) record_free(&e->records[i]);
    free(e->records);
    free(e);
}

const log_engine_t log_late = {
    "late", true, false, late_open, late_append, late_read, late_amend, late_destroy, late_put,
    late_cancel, late_follow, late_run, late_fd, late_due, late_epoch, late_last, late_close
};
