/* feed.c - see feed.h
 *
 * Holds  a reader that has started is listed at each of its topics, and stays there while it is behind.
 *        A reader is live again when the log has nothing behind its place and the feed has heard of nothing
 *        behind it: what the feed hears next comes next. What it hears late, up to the reader's place, is
 *        left out. */
#include "dedup.h"
#include "feed.h"
#include "restore.h"
#include "streams.h"
#include "wrapper.h"
#include <stdlib.h>
#include <string.h>

#define PAGE_EVENTS 1024u
#define PAGE_RESTORED 16u               /* behind a duplicate, where the rest of a page is read again */
#define PAGE_BYTES 131072u              /* and one event more */

struct feed_t {
    feeds_t     *feeds;
    log_follow_t follow;
    uint64_t     epoch;
    size_t       readers;
    buf_t        frame;
    const log_event_t *framed;          /* the event that is in `frame`; NULL: none */
    feed_t      *next, **back;
};

/* ---- frames */

uint64_t reader_epoch(const reader_t *r)
{
    return r->feed->epoch;
}

/* An event that goes to many readers is written once. */
ensign_slice_t reader_frame(reader_t *r, const log_event_t *e)
{
    feed_t *f = r->feed;

    if (f->framed == e) return buf_bytes(&f->frame);
    f->frame.start = f->frame.end = 0;
    stream_put_event(&f->frame, e, f->feeds->strict ? 0 : f->epoch);
    f->framed = e;
    return buf_bytes(&f->frame);
}

/* ---- live */

static void fall_behind(reader_t *r, uint64_t place)
{
    r->live = false;
    r->place = place;
    r->hooks->behind(r);
}

/* A duplicate is made whole by the way over the log. */
static void give_live(reader_t *r, const log_event_t *e, bool duplicate)
{
    if (!r->live || e->offset <= r->place) return;
    if (duplicate || !r->hooks->take(r, e)) fall_behind(r, e->offset - 1);
}

static void give(const feed_t *f, const log_event_t *e)
{
    const topics_t *all = f->feeds->topics;
    const topic_t *t = topics_by_id(all, &e->topic);
    bool duplicate;

    if (!t && f->feeds->strict) t = topics_gone(all, &e->topic);
    if (!t || t->subscriber_count == 0) return;
    duplicate = wrapper_is_duplicate(e->value);
    for (size_t i = 0; i < t->subscriber_count; i++) give_live(t->subscribers[i], e, duplicate);
}

static void on_events(log_follow_t *follow, const log_event_t *events, size_t count)
{
    feed_t *f = follow->user;

    for (size_t i = 0; i < count; i++) {
        f->framed = NULL;
        give(f, &events[i]);
    }
    f->framed = NULL;
}

/* ---- out of the log */

static void on_original(log_request_t *q);

static void ask(reader_t *r, void (*done)(log_request_t *), const ulid_t *topics, size_t topic_count,
                size_t most)
{
    log_read_t *q = &r->read;

    q->base.done = done;
    q->base.user = r;
    q->project = r->feed->follow.project;
    q->topics = topics;
    q->topic_count = topic_count;
    q->after = r->place;
    q->until = UINT64_MAX;
    q->by_id = done == on_original;
    q->most_events = most;
    q->most_bytes = PAGE_BYTES;
    r->asked = true;
    log_read(r->feed->feeds->log, q);
}

/* The answer. False: the log failed, and the reader stands where it stood. */
static bool is_answered(reader_t *r)
{
    r->asked = false;
    r->feed->framed = NULL;
    if (r->read.base.result == LOG_OK) return true;
    log_line("a subscriber waits: %s", r->read.base.why.text);
    return false;
}

static int by_id(const void *a, const void *b)
{
    topic_t *const *x = a, *const *y = b;
    return memcmp((*x)->id.b, (*y)->id.b, sizeof (*x)->id.b);
}

static int find_by_id(const void *id, const void *topic)
{
    topic_t *const *x = topic;
    return memcmp(id, (*x)->id.b, sizeof (*x)->id.b);
}

/* The topic's place in the reader's list; `count` if it is not there. */
static size_t topic_at(const reader_t *r, const ulid_t *id)
{
    topic_t **at = r->count ? bsearch(id->b, r->topics, r->count, sizeof *r->topics, find_by_id) : NULL;
    return at ? (size_t)(at - r->topics) : r->count;
}

static bool is_wanted(const reader_t *r, const log_event_t *e)
{
    return !r->behind || e->offset > r->behind[topic_at(r, &e->topic)];
}

static void be_live(reader_t *r)
{
    r->live = true;
    free(r->ids);
    free(r->behind);
    r->ids = NULL;
    r->behind = NULL;
    buf_free(&r->bytes);
}

/* False: not now. */
static bool give_restored(reader_t *r)
{
    ensign_slice_t value = buf_bytes(&r->bytes);
    buf_t whole = { NULL, 0, 0, 0 };
    bool taken = true;

    if (r->read.count && memcmp(&r->read.events[0].id, &r->read.id, sizeof r->read.id) == 0 &&
        restore_duplicate(value, r->read.events[0].value, &whole)) {
        r->duplicate.value = buf_bytes(&whole);
        taken = r->hooks->take(r, &r->duplicate);
        r->feed->framed = NULL;
    }
    buf_free(&whole);
    return taken;
}

static void on_original(log_request_t *q)
{
    reader_t *r = q->user;

    if (is_answered(r) && give_restored(r)) r->place = r->duplicate.offset;
    r->hooks->behind(r);
}

/* False: it has no original, and is left out. */
static bool restore(reader_t *r, const log_event_t *e)
{
    if (!dedup_original(e->value, &r->read.id)) return false;
    r->duplicate = *e;
    r->bytes.start = r->bytes.end = 0;
    buf_put(&r->bytes, e->value.ptr, e->value.len);
    r->page = PAGE_RESTORED;
    ask(r, on_original, &r->duplicate.topic, 1, 1);
    return true;
}

/* Gives the events of a page. False: it ended before the page did. */
static bool give_page(reader_t *r)
{
    const log_event_t *events = r->read.events;
    size_t count = r->read.count;

    for (size_t i = 0; i < count; r->place = events[i++].offset) {
        if (!is_wanted(r, &events[i])) continue;
        if (wrapper_is_duplicate(events[i].value)) {
            if (restore(r, &events[i])) return false;
        } else if (!r->hooks->take(r, &events[i])) {
            return false;
        }
    }
    r->place = r->read.reached;
    r->page = 2 * r->page < PAGE_EVENTS ? 2 * r->page : PAGE_EVENTS;
    return true;
}

static void on_page(log_request_t *q)
{
    reader_t *r = q->user;

    if (is_answered(r) && give_page(r) && r->read.end && r->place >= r->feed->follow.from) be_live(r);
    if (!r->live && !r->asked) r->hooks->behind(r);
}

void reader_more(reader_t *r, size_t most_events)
{
    if (r->live || r->asked) return;
    if (!r->ids) {
        r->ids = x_alloc(r->count * sizeof *r->ids);
        for (size_t i = 0; i < r->count; i++) r->ids[i] = r->topics[i]->id;
    }
    ask(r, on_page, r->ids, r->count, most_events < r->page ? most_events : r->page);
}

/* ---- where it begins */

void reader_set(reader_t *r, const topic_t *t, uint64_t offset)
{
    size_t at = topic_at(r, &t->id);
    uint64_t last = r->behind ? 0 : r->place;

    if (!r->behind) {
        r->behind = x_alloc(r->count * sizeof *r->behind);
        for (size_t i = 0; i < r->count; i++) r->behind[i] = last;
    }
    if (at == r->count || offset >= r->behind[at]) return;      /* there is nothing behind the last one */
    r->behind[at] = offset;
    if (offset < r->place) r->place = offset;
}

static void on_skipped(log_request_t *q);

static void skip(reader_t *r)
{
    ask(r, on_skipped, &r->topics[0]->id, 1, PAGE_EVENTS);
}

static void on_skipped(log_request_t *q)
{
    reader_t *r = q->user;
    bool more = true;

    if (is_answered(r)) {
        more = r->read.count <= r->skip && !r->read.end;
        r->place = r->read.count > r->skip ? r->read.events[r->skip].offset - 1 : r->read.reached;
        r->skip -= r->read.count > r->skip ? r->skip : r->read.count;
    }
    if (more) skip(r);
    else r->hooks->found(r);
}

void reader_find(reader_t *r, uint64_t count)
{
    r->skip = count;
    r->place = 0;
    skip(r);
}

/* ---- life */

static feed_t *feed_of(feeds_t *feeds, const ulid_t *project)
{
    feed_t *f = feeds->first;

    while (f && !ulid_eq(&f->follow.project, project)) f = f->next;
    if (f) return f;
    f = x_alloc(sizeof *f);
    f->feeds = feeds;
    f->epoch = log_epoch(feeds->log, project);
    f->follow.project = *project;
    f->follow.events = on_events;
    f->follow.user = f;
    log_follow(feeds->log, &f->follow);
    f->next = feeds->first;
    f->back = &feeds->first;
    if (f->next) f->next->back = &f->next;
    feeds->first = f;
    return f;
}

static void feed_leave(feed_t *f)
{
    if (--f->readers) return;
    log_unfollow(f->feeds->log, &f->follow);
    *f->back = f->next;
    if (f->next) f->next->back = f->back;
    buf_free(&f->frame);
    free(f);
}

void reader_open(reader_t *r, feeds_t *feeds, const ulid_t *project, topic_t **topics, size_t count)
{
    r->feed = feed_of(feeds, project);
    r->feed->readers++;
    r->topics = topics;
    r->count = count;
    if (count) qsort(topics, count, sizeof *topics, by_id);
    r->page = PAGE_EVENTS;
    r->place = log_last(feeds->log, project);
}

static void list_at(topic_t *t, reader_t *r)
{
    if (t->subscriber_count == t->subscriber_cap) {
        t->subscriber_cap = t->subscriber_cap ? 2 * t->subscriber_cap : 4;
        t->subscribers = x_realloc(t->subscribers, t->subscriber_cap * sizeof *t->subscribers);
    }
    t->subscribers[t->subscriber_count++] = r;
}

static void unlist_at(topic_t *t, const reader_t *r)
{
    for (size_t i = 0; i < t->subscriber_count; i++) {
        if (t->subscribers[i] != r) continue;
        t->subscribers[i] = t->subscribers[--t->subscriber_count];
        return;
    }
}

void reader_start(reader_t *r)
{
    r->started = true;
    for (size_t i = 0; i < r->count; i++) list_at(r->topics[i], r);
    if (r->place >= r->feed->follow.from) be_live(r);
    else r->hooks->behind(r);
}

void reader_close(reader_t *r)
{
    if (!r->feed) return;
    if (r->asked) log_cancel(r->feed->feeds->log, &r->read.base);
    for (size_t i = 0; r->started && i < r->count; i++) unlist_at(r->topics[i], r);
    feed_leave(r->feed);
    free(r->topics);
    free(r->behind);
    free(r->ids);
    buf_free(&r->bytes);
    memset(r, 0, sizeof *r);
}
