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

typedef struct put_now_t { log_put_t put; bool answered; } put_now_t;

static void put_answered(log_request_t *r)
{
    ((put_now_t *)r)->answered = true;
}

static bool put_now(log_t *l, ensign_slice_t key, ensign_slice_t value, uint64_t revision, why_t *why)
{
    put_now_t p;

    memset(&p, 0, sizeof p);
    p.put.base.done = put_answered;
    p.put.key = key;
    p.put.value = value;
    p.put.revision = revision;
    log_put(l, &p.put);
    while (!p.answered) turn(l);
    if (p.put.base.result == LOG_OK || p.put.base.result == LOG_CHANGED) return true;
    *why = p.put.base.why;
    return false;
}

bool log_put_now(log_t *l, ensign_slice_t key, ensign_slice_t value, why_t *why)
{
    return put_now(l, key, value, LOG_ANY_REVISION, why);
}

bool log_make_now(log_t *l, ensign_slice_t key, ensign_slice_t value, why_t *why)
{
    return put_now(l, key, value, 0, why);
}

typedef struct read_now_t {
    log_read_t      read;
    log_event_fn_t *each;
    bool            answered, enough;
} read_now_t;

static void read_answered(log_request_t *r)
{
    read_now_t *n = (read_now_t *)r;

    n->answered = true;
    if (r->result != LOG_OK) return;
    for (size_t i = 0; !n->enough && i < n->read.count; i++)
        n->enough = !n->each(r->user, &n->read.events[i]);
    n->enough = n->enough || n->read.end;
    n->read.after = n->read.reached;
}

bool log_read_now(log_t *l, const ulid_t *project, const ulid_t *topic, log_event_fn_t *each, void *user,
                  why_t *why)
{
    read_now_t n;

    memset(&n, 0, sizeof n);
    n.read.base.done = read_answered;
    n.read.base.user = user;
    n.read.project = *project;
    n.read.topics = topic;
    n.read.topic_count = 1;
    n.read.until = log_last(l, project);
    n.read.most_events = PAGE_EVENTS;
    n.read.most_bytes = PAGE_BYTES;
    n.each = each;
    while (!n.enough) {
        n.answered = false;
        log_read(l, &n.read);
        while (!n.answered) turn(l);
        if (n.read.base.result == LOG_OK) continue;
        *why = n.read.base.why;
        return false;
    }
    return true;
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
