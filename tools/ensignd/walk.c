/* walk.c - see walk.h */
#include "walk.h"
#include <stdlib.h>
#include <string.h>

#define KEPT_BYTES (2 * WALK_BYTES)     /* a larger buffer, of one large event, is given back */

void walk_start(walk_t *w, service_t *s, job_t *j, const topic_t *t, uint64_t after, uint64_t until)
{
    walk_free(w);
    memset(w, 0, sizeof *w);
    w->service = s;
    w->job = j;
    w->project = t->project;
    w->topic = t->id;
    w->page_events = WALK_RECORDS;
    w->page_bytes = WALK_BYTES;
    w->taken = after;
    w->until = until;
    w->end = after >= until;
}

static job_result_t fail_walk(walk_t *w)
{
    w->failed = false;
    log_line("the log cannot be read: %s", w->why.text);
    return JOB_FAILED;
}

/* True: it has the answer. */
static bool answered(walk_t *w, const log_request_t *r)
{
    w->asked = NULL;
    w->failed = r->result != LOG_OK;
    if (w->failed) w->why = r->why;
    jobs_wake(w->service, w->job);
    return !w->failed;
}

static void ask(walk_t *w, log_read_t *r, void (*done)(log_request_t *r))
{
    r->base.done = done;
    r->base.user = w;
    r->project = w->project;
    r->topics = &w->topic;
    r->topic_count = 1;
    w->asked = &r->base;
    log_read(w->service->log, r);
}

/* ---- pages */

static void keep(walk_t *w, const log_event_t *e)
{
    walk_event_t *kept;

    if (w->count == w->cap) {
        w->cap = w->cap ? 2 * w->cap : 16;
        w->events = x_realloc(w->events, w->cap * sizeof *w->events);
    }
    kept = &w->events[w->count++];
    kept->event = *e;
    kept->at = w->bytes.end;
    buf_put(&w->bytes, e->value.ptr, e->value.len);
}

static void on_page(log_request_t *r)
{
    walk_t *w = r->user;

    if (!answered(w, r)) return;
    w->bytes.start = w->bytes.end = w->count = w->at = 0;
    if (w->bytes.cap > KEPT_BYTES) buf_free(&w->bytes);
    for (size_t i = 0; i < w->page.count; i++) keep(w, &w->page.events[i]);
    w->end = w->page.end || w->page.reached >= w->until;
    if (w->count == 0) w->taken = w->page.reached;
}

job_result_t walk_peek(walk_t *w, log_event_t *e)
{
    if (w->failed) return fail_walk(w);
    if (w->asked) return JOB_WAIT;
    if (w->at < w->count) {
        *e = w->events[w->at].event;
        e->value = slice_of(w->bytes.ptr + w->events[w->at].at, e->value.len);
        return JOB_MORE;
    }
    if (w->end) return JOB_DONE;
    w->page.after = w->taken;
    w->page.until = w->until;
    w->page.most_events = w->page_events;
    w->page.most_bytes = w->page_bytes;
    ask(w, &w->page, on_page);
    return JOB_WAIT;
}

void walk_take(walk_t *w)
{
    w->taken = w->events[w->at++].event.offset;
    if (w->at == w->count && w->page.reached > w->taken) w->taken = w->page.reached;
}

/* ---- originals */

static void on_lookup(log_request_t *r)
{
    walk_t *w = r->user;
    const log_event_t *e;

    if (!answered(w, r)) return;
    w->has_original = true;
    w->original.start = w->original.end = 0;
    if (w->original.cap > KEPT_BYTES) buf_free(&w->original);
    if (w->lookup.count == 0) return;
    e = &w->lookup.events[0];
    if (memcmp(e->id.b, w->looked_up.b, sizeof e->id.b) == 0)
        buf_put(&w->original, e->value.ptr, e->value.len);
}

/* Ids rise with their places. */
static const walk_event_t *in_page(const walk_t *w, const rlid_t *id)
{
    size_t low = 0, high = w->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int sign = memcmp(w->events[middle].event.id.b, id->b, sizeof id->b);
        if (sign == 0) return &w->events[middle];
        if (sign < 0) low = middle + 1;
        else high = middle;
    }
    return NULL;
}

job_result_t walk_original(walk_t *w, const rlid_t *id, ensign_slice_t *value)
{
    const walk_event_t *near = in_page(w, id);

    if (w->failed) return fail_walk(w);
    if (w->asked) return JOB_WAIT;
    if (near) {
        *value = slice_of(w->bytes.ptr + near->at, near->event.value.len);
        return JOB_MORE;
    }
    if (w->has_original && memcmp(w->looked_up.b, id->b, sizeof id->b) == 0) {
        *value = buf_bytes(&w->original);
        return JOB_MORE;
    }
    w->has_original = false;
    w->looked_up = *id;
    w->lookup.by_id = true;
    w->lookup.id = *id;
    w->lookup.until = UINT64_MAX;
    w->lookup.most_events = 1;
    ask(w, &w->lookup, on_lookup);
    return JOB_WAIT;
}

void walk_free(walk_t *w)
{
    if (w->asked) log_cancel(w->service->log, w->asked);
    free(w->events);
    buf_free(&w->bytes);
    buf_free(&w->original);
}
