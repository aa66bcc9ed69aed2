/* jobs.c - see jobs.h */
#include "jobs.h"
#include <stdlib.h>
#include <string.h>

#define JOBS_MS 2

void jobs_add(service_t *s, job_t *j)
{
    job_t **at = &s->jobs;
    while (*at) at = &(*at)->next;
    j->next = NULL;
    *at = j;
}

bool jobs_pending(const service_t *s)
{
    return s->jobs != NULL;
}

static bool is_gone(const job_t *j)
{
    return j->topic && ulid_is_zero(&j->topic->project);
}

static void run_first(service_t *s)
{
    job_t *j = s->jobs;
    bool more = false, ok;
    why_t why;

    s->jobs = j->next;
    why.text[0] = '\0';
    ok = !is_gone(j) && j->step(s, j, &more, &why);
    if (ok && more) {
        jobs_add(s, j);
        return;
    }
    if (!ok) log_line("a job has failed: %s", why.text[0] ? why.text : "its topic is gone");
    j->end(s, j, ok);
}

void jobs_run(service_t *s)
{
    int64_t end = now_ms() + JOBS_MS;
    while (s->jobs && now_ms() < end) run_first(s);
}

void jobs_free(service_t *s)
{
    while (s->jobs) {
        job_t *j = s->jobs;
        s->jobs = j->next;
        j->end(s, j, false);
    }
}

/* ---- walks */

void event_key(const topic_t *t, ensign_slice_t rlid, uint8_t key[EVENT_KEY])
{
    memcpy(key, t->id.b, 16);
    memcpy(key + 16, rlid.ptr, 10);
}

void walk_start(walk_t *w, const topic_t *t, const rlid_t *until)
{
    buf_free(&w->bytes);
    memset(w, 0, sizeof *w);
    w->topic = t;
    event_key(t, slice_of(until->b, sizeof until->b), w->until);
}

static bool take(void *user, ensign_slice_t key, ensign_slice_t value)
{
    walk_t *w = user;
    int past;

    if (key.len != EVENT_KEY) return true;
    past = memcmp(key.ptr, w->until, EVENT_KEY);
    if (past > 0 || (past == 0 && w->before)) return false;
    w->at[w->count].key = w->bytes.end;
    w->at[w->count].value = w->bytes.end + key.len;
    w->at[w->count].len = value.len;
    buf_put(&w->bytes, key.ptr, key.len);
    buf_put(&w->bytes, value.ptr, value.len);
    return ++w->count < WALK_RECORDS && buf_len(&w->bytes) < WALK_BYTES;
}

bool walk_next(walk_t *w, store_t *s, why_t *why)
{
    ensign_slice_t after = slice_of(w->after, w->begun ? EVENT_KEY : 0);

    w->bytes.start = w->bytes.end = w->count = 0;
    if (!store_scan(s, STORE_EVENT, slice_of(w->topic->id.b, 16), after, take, w, why)) return false;
    if (w->count) memcpy(w->after, walk_key(w, w->count - 1).ptr, EVENT_KEY);
    w->begun = w->begun || w->count;
    return true;
}

ensign_slice_t walk_key(const walk_t *w, size_t i)
{
    return slice_of(w->bytes.ptr + w->at[i].key, EVENT_KEY);
}

ensign_slice_t walk_value(const walk_t *w, size_t i)
{
    return slice_of(w->bytes.ptr + w->at[i].value, w->at[i].len);
}

void walk_free(walk_t *w)
{
    buf_free(&w->bytes);
}
