/* dedup_window.c - see dedup_window.h
 *
 * An entry stands in its window's chain by digest and in its list by age. Its id is not known until the log
 * tells it: such an original is on its way. An entry's time is that of the question, or of the id where the
 * log tells of an event that nobody has asked for. */
#include "dedup.h"
#include "dedup_window.h"
#include "messages.h"
#include <stdlib.h>
#include <string.h>

#define ENTRIES_OF_TOPIC 65536u
#define ENTRIES_IN_ALL 262144u
#define OUTLINES_BYTES 67108864u
#define OUTLINE_MAX 65536u              /* bytes; an event with more besides its data is not remembered */
#define FILL_MOST 262144u               /* offsets of the project that are looked at to fill a window */
#define PAGE_EVENTS 256
#define PAGE_BYTES 1048576u

typedef struct entry_t entry_t;
struct entry_t {
    dedup_digest_t digest;
    rlid_t   id;
    bool     known;                     /* the id is one */
    int64_t  at;                        /* ms since 1970 */
    entry_t *chain;
    entry_t *older, *newer;
    size_t   outline_len;
    uint8_t  outline[];                 /* of the original, see dedup_outline */
};

typedef enum { CLOSED, UNFILLED, FILLING, FILLED } state_t;

typedef struct window_t {               /* of one topic */
    dedup_window_t *owner;
    ulid_t         project, topic;
    state_t        state;
    dedup_policy_t policy;
    entry_t      **chains;
    size_t         chain_count;         /* a power of two */
    entry_t       *oldest, *newest;
    size_t         count;
    log_read_t     read;
} window_t;

typedef struct followed_t { log_follow_t follow; struct followed_t *next; } followed_t;

struct dedup_window_t {
    log_t      *log;
    const topics_t *topics;
    int64_t     ms;
    window_t  **windows;                /* by the topic's index; NULL: none */
    size_t      cap;
    followed_t *followed;
    size_t      entries, bytes;
    uint64_t    serial;                 /* counts what an event may have waited for */
};

/* ---- entries */

static entry_t **chain_of(const window_t *w, const uint8_t digest[32])
{
    size_t at = 0;
    for (size_t i = 0; i < sizeof at; i++) at = at << 8 | digest[i];
    return &w->chains[at & (w->chain_count - 1)];
}

static entry_t *find(const window_t *w, const uint8_t digest[32])
{
    entry_t *e = w->chain_count ? *chain_of(w, digest) : NULL;

    while (e && memcmp(e->digest.all, digest, sizeof e->digest.all) != 0) e = e->chain;
    return e;
}

static void drop(window_t *w, entry_t *e)
{
    entry_t **at = chain_of(w, e->digest.all);

    while (*at != e) at = &(*at)->chain;
    *at = e->chain;
    if (e->older) e->older->newer = e->newer;
    else w->oldest = e->newer;
    if (e->newer) e->newer->older = e->older;
    else w->newest = e->older;
    w->count--;
    w->owner->entries--;
    w->owner->bytes -= e->outline_len;
    free(e);
}

static void drop_expired(window_t *w, int64_t now)
{
    while (w->oldest && w->oldest->at < now - w->owner->ms) drop(w, w->oldest);
}

static void drop_all(window_t *w)
{
    while (w->oldest) drop(w, w->oldest);
    free(w->chains);
    w->chains = NULL;
    w->chain_count = 0;
}

static void grow(window_t *w)
{
    free(w->chains);
    w->chain_count = w->chain_count ? 2 * w->chain_count : 64;
    w->chains = x_alloc(w->chain_count * sizeof *w->chains);
    for (entry_t *e = w->oldest; e; e = e->newer) {
        entry_t **at = chain_of(w, e->digest.all);
        e->chain = *at;
        *at = e;
    }
}

static bool has_room(const dedup_window_t *o, size_t bytes)
{
    return o->entries < ENTRIES_IN_ALL && o->bytes + bytes <= OUTLINES_BYTES;
}

/* False: nothing more can be remembered. The window's own oldest entries go, when what is too old in all
   windows has gone. */
static bool make_room(window_t *w, size_t bytes, int64_t now)
{
    dedup_window_t *o = w->owner;

    if (bytes > OUTLINE_MAX) return false;
    drop_expired(w, now);
    for (size_t i = 0; !has_room(o, bytes) && i < o->cap; i++)
        if (o->windows[i]) drop_expired(o->windows[i], now);
    while (w->oldest && (w->count >= ENTRIES_OF_TOPIC || !has_room(o, bytes))) drop(w, w->oldest);
    return has_room(o, bytes);
}

static void add(window_t *w, const dedup_digest_t *digest, ensign_slice_t value, const rlid_t *id, int64_t at)
{
    buf_t outline = { NULL, 0, 0, 0 };
    entry_t *e, **chain;

    if (dedup_needs_outline(&w->policy)) dedup_outline(value, slice_of(NULL, 0), &outline);
    if (make_room(w, buf_len(&outline), wall_ms())) {
        if (w->count >= w->chain_count) grow(w);
        e = x_alloc(sizeof *e + buf_len(&outline));
        e->digest = *digest;
        e->known = id != NULL;
        if (id) e->id = *id;
        e->at = at;
        e->outline_len = buf_len(&outline);
        if (e->outline_len) memcpy(e->outline, outline.ptr, e->outline_len);
        chain = chain_of(w, digest->all);
        e->chain = *chain;
        *chain = e;
        e->older = w->newest;
        if (w->newest) w->newest->newer = e;
        else w->oldest = e;
        w->newest = e;
        w->count++;
        w->owner->entries++;
        w->owner->bytes += e->outline_len;
    }
    buf_free(&outline);
}

/* ---- windows */

static void close_window(window_t *w)
{
    if (w->state == FILLING) log_cancel(w->owner->log, &w->read.base);
    drop_all(w);
    dedup_policy_free(&w->policy);
    w->state = CLOSED;
    w->owner->serial++;
}

/* NULL: it has none so far. */
static window_t *known_window(const dedup_window_t *o, const topic_t *t)
{
    return t && t->index < o->cap ? o->windows[t->index] : NULL;
}

static window_t *window_of(dedup_window_t *o, const topic_t *t)
{
    window_t *w = known_window(o, t);

    if (w) return w;
    if (t->index >= o->cap) {
        size_t cap = 2 * o->cap > t->index ? 2 * o->cap : t->index + 64;
        o->windows = x_realloc(o->windows, cap * sizeof *o->windows);
        for (size_t i = o->cap; i < cap; i++) o->windows[i] = NULL;
        o->cap = cap;
    }
    w = o->windows[t->index] = x_alloc(sizeof *w);
    w->owner = o;
    w->project = t->project;
    w->topic = t->id;
    dedup_window_changed(o, t);
    return w;
}

static bool looks_for_duplicates(const dedup_policy_t *p)
{
    return p->strategy > DEDUP_NONE && p->strategy < DEDUP_UNIQUE_FIELD;
}

void dedup_window_changed(dedup_window_t *o, const topic_t *t)
{
    window_t *w = known_window(o, t);

    if (!w) return;
    close_window(w);
    if (topic_is_gone(t) || t->state != MSG_TOPIC_STATE_READY) return;
    if (dedup_policy_read(slice_of(t->message, t->message_len), &w->policy) &&
        looks_for_duplicates(&w->policy))
        w->state = UNFILLED;
}

/* One that the log has. What is marked a duplicate is no original of others. */
static void take(window_t *w, const log_event_t *e)
{
    dedup_digest_t digest;
    entry_t *known;
    int64_t at = 0;
    rlid_t original;

    if (dedup_original(e->value, &original) || !dedup_digest(&w->policy, e->value, &digest)) return;
    known = find(w, digest.all);
    if (known && !known->known) {
        known->known = true;
        known->id = e->id;
        w->owner->serial++;
    }
    for (size_t i = 0; i < 6; i++) at = at << 8 | e->id.b[i];
    if (!known) add(w, &digest, e->value, &e->id, at);
}

static void on_live(log_follow_t *f, const log_event_t *events, size_t count)
{
    dedup_window_t *o = f->user;

    for (size_t i = 0; i < count; i++) {
        window_t *w = known_window(o, topics_by_id(o->topics, &events[i].topic));
        if (w && (w->state == FILLING || w->state == FILLED)) take(w, &events[i]);
    }
}

static void follow(dedup_window_t *o, const ulid_t *project)
{
    followed_t *f = o->followed;

    while (f && !ulid_eq(&f->follow.project, project)) f = f->next;
    if (f) return;
    f = x_alloc(sizeof *f);
    f->follow.project = *project;
    f->follow.events = on_live;
    f->follow.user = o;
    f->next = o->followed;
    o->followed = f;
    log_follow(o->log, &f->follow);
}

/* The first page begins where the window does. False: that is too far back, and a later one is asked for. */
static bool starts_well(window_t *w)
{
    uint64_t first = w->read.count ? w->read.events[0].offset : w->read.reached;

    if (!w->read.by_id) return true;
    w->read.by_id = false;
    if (first + FILL_MOST >= w->read.until) return true;
    w->read.after = w->read.until - FILL_MOST;
    return false;
}

static void on_page(log_request_t *r)
{
    window_t *w = r->user;

    w->owner->serial++;
    if (r->result != LOG_OK) {
        log_line("deduplication: what was published last cannot be read: %s", r->why.text);
        w->state = FILLED;
        return;
    }
    if (starts_well(w)) {
        for (size_t i = 0; i < w->read.count; i++) take(w, &w->read.events[i]);
        w->read.after = w->read.reached;
        if (w->read.end) w->state = FILLED;
    }
    if (w->state == FILLING) log_read(w->owner->log, &w->read);
}

/* The live events begin where the page that is read now ends, or before. */
static void fill(window_t *w)
{
    dedup_window_t *o = w->owner;

    follow(o, &w->project);
    memset(&w->read, 0, sizeof w->read);
    w->state = FILLING;
    w->read.base.done = on_page;
    w->read.base.user = w;
    w->read.project = w->project;
    w->read.topics = &w->topic;
    w->read.topic_count = 1;
    w->read.by_id = true;
    w->read.id = rlid_make(wall_ms() - o->ms, 0);
    w->read.until = log_last(o->log, &w->project);
    w->read.most_events = PAGE_EVENTS;
    w->read.most_bytes = PAGE_BYTES;
    log_read(o->log, &w->read);
}

/* ---- one event */

static bool mark(const window_t *w, const entry_t *e, const dedup_digest_t *digest, ensign_slice_t value,
                 buf_t *marked)
{
    ensign_slice_t data = slice_of(NULL, 0), original = value;
    buf_t outline = { NULL, 0, 0, 0 };
    bool ok = true;

    if (dedup_needs_outline(&w->policy)) {
        if (memcmp(digest->data, e->digest.data, sizeof digest->data) == 0) ok = dedup_data(value, &data);
        ok = ok && dedup_outline(slice_of(e->outline, e->outline_len), data, &outline);
        original = buf_bytes(&outline);
    }
    ok = ok && dedup_shrink(&w->policy, value, original, &e->id, marked);
    buf_free(&outline);
    return ok;
}

dedup_answer_t dedup_window_ask(dedup_window_t *o, const ulid_t *topic, ensign_slice_t value, buf_t *marked)
{
    const topic_t *t = o->ms ? topics_by_id(o->topics, topic) : NULL;
    window_t *w = t ? window_of(o, t) : NULL;
    dedup_digest_t digest;
    entry_t *e;
    rlid_t id;

    if (!w || w->state == CLOSED) return DEDUP_NEW;
    if (w->state == UNFILLED) fill(w);
    if (w->state == FILLING) return DEDUP_LATER;
    if (dedup_original(value, &id) || !dedup_digest(&w->policy, value, &digest)) return DEDUP_NEW;
    drop_expired(w, wall_ms());
    e = find(w, digest.all);
    if (e && !e->known) return DEDUP_LATER;
    if (e && mark(w, e, &digest, value, marked)) return DEDUP_REPEATED;
    if (!e) add(w, &digest, value, NULL, wall_ms());
    return DEDUP_NEW;
}

void dedup_window_failed(dedup_window_t *o, const ulid_t *topic, ensign_slice_t value)
{
    window_t *w = known_window(o, topics_by_id(o->topics, topic));
    dedup_digest_t digest;
    entry_t *e;

    if (!w || w->state != FILLED || !dedup_digest(&w->policy, value, &digest)) return;
    e = find(w, digest.all);
    if (e && !e->known) drop(w, e);
    o->serial++;
}

uint64_t dedup_window_serial(const dedup_window_t *o)
{
    return o->serial;
}

/* ---- life */

dedup_window_t *dedup_window_open(log_t *l, const topics_t *topics, int64_t seconds)
{
    dedup_window_t *o = x_alloc(sizeof *o);

    o->log = l;
    o->topics = topics;
    o->ms = seconds * 1000;
    return o;
}

void dedup_window_close(dedup_window_t *o)
{
    if (!o) return;
    for (size_t i = 0; i < o->cap; i++) {
        if (o->windows[i]) close_window(o->windows[i]);
        free(o->windows[i]);
    }
    free(o->windows);
    while (o->followed) {
        followed_t *f = o->followed;
        o->followed = f->next;
        log_unfollow(o->log, &f->follow);
        free(f);
    }
    free(o);
}
