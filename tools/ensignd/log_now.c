/* log_now.c - see log_now.h */
#include "log_now.h"
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define PAGE_EVENTS 256
#define PAGE_BYTES 1048576

/* Until the log has something to do, a second at most. */
static void turn(log_t *l)
{
    int64_t due = log_due(l), ms = due ? due - now_ms() : 1000;
    struct pollfd p;

    p.fd = log_fd(l);
    p.events = POLLIN;
    p.revents = 0;
    if (p.fd < 0 && due == 0) ms = 0;
    if (ms > 1000) ms = 1000;
    poll(&p, 1, ms < 0 ? 0 : (int)ms);
    log_run(l);
}

/* Each request counts down what its caller waits for. */
static void count_down(log_request_t *r)
{
    --*(size_t *)r->user;
}

static void will_count(log_request_t *r, size_t *left)
{
    r->done = count_down;
    r->user = left;
}

static void wait_for(log_t *l, const size_t *left)
{
    while (*left) turn(l);
}

static bool is_done(const log_request_t *r, why_t *why)
{
    if (r->result == LOG_OK) return true;
    *why = r->why;
    return false;
}

static bool put_now(log_t *l, ensign_slice_t key, ensign_slice_t value, uint64_t revision, why_t *why)
{
    size_t left = 1;
    log_put_t r;

    memset(&r, 0, sizeof r);
    will_count(&r.base, &left);
    r.key = key;
    r.value = value;
    r.revision = revision;
    log_put(l, &r);
    wait_for(l, &left);
    return r.base.result == LOG_CHANGED || is_done(&r.base, why);
}

bool log_put_now(log_t *l, ensign_slice_t key, ensign_slice_t value, why_t *why)
{
    return put_now(l, key, value, LOG_ANY_REVISION, why);
}

bool log_make_now(log_t *l, ensign_slice_t key, ensign_slice_t value, why_t *why)
{
    return put_now(l, key, value, 0, why);
}

bool log_append_now(log_t *l, log_append_t *r, why_t *why)
{
    size_t left = 1;

    will_count(&r->base, &left);
    log_append(l, r);
    wait_for(l, &left);
    return is_done(&r->base, why);
}

bool log_amend_now(log_t *l, log_amend_t *r, size_t count, why_t *why)
{
    size_t left = count;
    bool ok = true;

    for (size_t i = 0; i < count; i++) {
        will_count(&r[i].base, &left);
        log_amend(l, &r[i]);
    }
    wait_for(l, &left);
    for (size_t i = 0; ok && i < count; i++) ok = is_done(&r[i].base, why);
    return ok;
}

/* ---- reading */

typedef struct page_t { log_event_fn_t *each; void *user; bool answered, enough; } page_t;

/* What was read stands until this returns. */
static void read_answered(log_request_t *r)
{
    const log_read_t *read = (const log_read_t *)r;
    page_t *page = r->user;

    page->answered = true;
    if (r->result != LOG_OK) return;
    for (size_t i = 0; !page->enough && i < read->count; i++)
        page->enough = !page->each(page->user, &read->events[i]);
}

/* Of the project, the topics and the offsets that are filled in. */
static bool read_now(log_t *l, log_read_t *r, log_event_fn_t *each, void *user, why_t *why)
{
    page_t page = { each, user, false, false };

    r->base.done = read_answered;
    r->base.user = &page;
    r->most_events = PAGE_EVENTS;
    r->most_bytes = PAGE_BYTES;
    do {
        page.answered = false;
        log_read(l, r);
        while (!page.answered) turn(l);
        if (!is_done(&r->base, why)) return false;
        r->after = r->reached;
    } while (!page.enough && !r->end);
    return true;
}

bool log_read_now(log_t *l, const ulid_t *project, const ulid_t *topic, log_event_fn_t *each, void *user,
                  why_t *why)
{
    log_read_t r;

    memset(&r, 0, sizeof r);
    r.project = *project;
    r.topics = topic;
    r.topic_count = topic ? 1 : 0;
    r.until = log_last(l, project);
    return read_now(l, &r, each, user, why);
}

bool log_read_one_now(log_t *l, const ulid_t *project, const ulid_t *topic, uint64_t offset,
                      log_event_fn_t *each, void *user, why_t *why)
{
    log_read_t r;

    memset(&r, 0, sizeof r);
    r.project = *project;
    r.topics = topic;
    r.topic_count = 1;
    r.after = offset - 1;
    r.until = offset;
    return read_now(l, &r, each, user, why);
}

/* ---- settings */

typedef char setting_key_t[64];

static ensign_slice_t key_of(const char *name, setting_key_t out)
{
    snprintf(out, sizeof(setting_key_t), "setting/%s", name);
    return slice_text(out);
}

bool setting_get(const log_t *l, const char *name, ensign_slice_t *value)
{
    setting_key_t key;
    uint64_t revision;

    return log_get(l, key_of(name, key), value, &revision);
}

bool setting_put_now(log_t *l, const char *name, ensign_slice_t value, why_t *why)
{
    setting_key_t key;
    return log_put_now(l, key_of(name, key), value, why);
}

bool setting_make_now(log_t *l, const char *name, ensign_slice_t value, ensign_slice_t *out, why_t *why)
{
    setting_key_t key;

    if (setting_get(l, name, out)) return true;
    if (!log_make_now(l, key_of(name, key), value, why)) return false;
    return setting_get(l, name, out) || fail(why, "the setting %s is gone again; start ensignd again", name);
}
