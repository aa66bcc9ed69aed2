/* nats_read.c - reads of the streams of NATS; see nats_engine.h
 *
 * Holds  a read goes no further than what this node knew to be committed when it was asked for. So its end
 *        is known: where the last of its topics' events up to there was looked at. A few events are asked
 *        for one by one, of any replica. More come by a cursor: a consumer of the read's topics, which
 *        waits for a later read that goes on where this one ended. CURSORS_MOST wait. A replica may be
 *        behind, and then says too soon that there is no more. So where there are several, the stream's
 *        leader is asked for a next event; if there is one, the read waits for it. A page stays for a whole
 *        run, since a read may be answered in the call that asks. One read looks at LOOKS_MOST events.
 * Moves  asked -> the stream is known -> (the place of an id is found) -> events, until there are enough or
 *        no more -> (the leader is asked) -> answered. Whatever fails, fails the read or ends it early. */
#include "nats_engine.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOKS_MOST 1024
#define BYTES_MOST 1048576              /* of values, and one event more */
#define FEW 4                           /* events that are asked for one by one */
#define FILTERS_MOST 32                 /* topics; of more, all events of the project are looked at */
#define CURSORS_MOST 64
#define TIME_MS_MOST 253402300799999    /* the end of the year 9999 */

struct nats_page_t {
    log_event_t    *events;
    nats_message_t *messages;           /* that the events point into */
    size_t          count, cap, bytes;
    nats_page_t    *next;
};

struct nats_cursor_t {
    nats_t         *engine;
    nats_project_t *project;
    ulid_t         *topics;
    size_t          topic_count;
    uint64_t        at;                 /* every event up to here was given, or is not to be */
    consumer_t     *consumer;
    nats_read_t    *read;               /* that has it; NULL: it waits for one */
    nats_cursor_t  *next, **back;
};

struct nats_read_t {
    nats_t         *engine;
    log_read_t     *r;
    nats_project_t *project;
    uint64_t        until, at;          /* at: every event up to here was looked at */
    bool            by_time;            /* events with lower ids than the read's come first */
    bool            sure;               /* the leader has said that there are more, or no more */
    bool            more;               /* there are, and a replica did not know it yet */
    size_t          looks, topic;       /* topic: that the leader is asked for */
    uint64_t        request;
    nats_page_t    *page;
    nats_cursor_t  *cursor;             /* NULL: none yet, or a few events */
    nats_read_t    *next, **back;
};

/* ---- pages */

static void page_free(nats_page_t *page)
{
    for (size_t i = 0; i < page->count; i++) nats_message_free(&page->messages[i]);
    free(page->events);
    free(page->messages);
    free(page);
}

void nats_pages_age(nats_t *e)
{
    while (e->old_pages) {
        nats_page_t *page = e->old_pages;
        e->old_pages = page->next;
        page_free(page);
    }
    e->old_pages = e->pages;
    e->pages = NULL;
}

static void page_put(nats_page_t *page, const log_event_t *event, nats_message_t *m)
{
    if (page->count == page->cap) {
        page->cap = page->cap ? 2 * page->cap : 16;
        page->events = x_realloc(page->events, page->cap * sizeof *page->events);
        page->messages = x_realloc(page->messages, page->cap * sizeof *page->messages);
    }
    page->events[page->count] = *event;
    page->messages[page->count++] = nats_message_take(m);
    page->bytes += event->value.len;
}

/* ---- cursors */

static int64_t ms_of(const rlid_t *id)
{
    int64_t ms = 0;
    for (size_t i = 0; i < 6; i++) ms = ms << 8 | id->b[i];
    return ms;
}

static void cursor_free(nats_cursor_t *c)
{
    *c->back = c->next;
    if (c->next) c->next->back = c->back;
    consumer_close(c->consumer);
    free(c->topics);
    free(c);
}

static bool cursor_is_for(const nats_cursor_t *c, const nats_read_t *x)
{
    return !c->read && c->project == x->project && c->at == x->at && c->topic_count == x->r->topic_count &&
           (c->topic_count == 0 || memcmp(c->topics, x->r->topics, c->topic_count * sizeof *c->topics) == 0);
}

/* The one that was made first goes, of those that wait. */
static void make_room(nats_t *e)
{
    nats_cursor_t *oldest = NULL;
    size_t waiting = 0;

    for (nats_cursor_t *c = e->cursors; c; c = c->next) {
        if (c->read) continue;
        waiting++;
        oldest = c;
    }
    if (waiting >= CURSORS_MOST) cursor_free(oldest);
}

/* NULL: all events of the stream. free() it. */
static char *make_filters(const nats_read_t *x)
{
    size_t each = strlen(x->project->subject) + ULID_TEXT + sizeof "\".\",";
    char topic[ULID_TEXT + 1], *filters, *at;

    if (x->r->topic_count == 0 || x->r->topic_count > FILTERS_MOST) return NULL;
    at = filters = x_alloc(x->r->topic_count * each + 1);
    for (size_t i = 0; i < x->r->topic_count; i++) {
        ulid_text(&x->r->topics[i], topic);
        at += snprintf(at, each, "%s\"%s.%s\"", i ? "," : "", x->project->subject, topic);
    }
    return filters;
}

static void on_cursor(void *user);

static nats_cursor_t *cursor_new(nats_read_t *x)
{
    nats_t *e = x->engine;
    nats_cursor_t *c = x_alloc(sizeof *c);
    char *filters = make_filters(x);
    consumer_rules_t rules;

    memset(&rules, 0, sizeof rules);
    rules.stream = x->project->stream;
    rules.filters = filters;
    rules.begin = x->by_time ? BEGIN_AT_TIME : BEGIN_BEHIND;
    rules.behind = x->at;
    rules.ms = ms_of(&x->r->id);
    rules.changed = on_cursor;
    rules.user = c;
    c->engine = e;
    c->project = x->project;
    c->topic_count = x->r->topic_count;
    c->topics = x_alloc(c->topic_count * sizeof *c->topics);
    if (c->topic_count) memcpy(c->topics, x->r->topics, c->topic_count * sizeof *c->topics);
    c->next = e->cursors;
    c->back = &e->cursors;
    if (c->next) c->next->back = &c->next;
    e->cursors = c;
    c->consumer = consumer_open(&e->consumers, &rules);
    free(filters);
    return c;
}

/* ---- answers */

static void read_free(nats_read_t *x)
{
    nats_forget(x->engine->link, x->request);
    if (x->cursor) cursor_free(x->cursor);
    if (x->page) page_free(x->page);
    *x->back = x->next;
    if (x->next) x->next->back = x->back;
    free(x);
}

static void fail_read(nats_read_t *x, const char *why)
{
    log_request_t *r = &x->r->base;
    log_t *front = x->engine->front;
    why_t text;

    fail(&text, "%s", why);             /* it may lie in what goes now */
    read_free(x);
    log_answer(front, r, LOG_FAILED, text.text);
}

/* A cursor stays for a later read, but not at the end: what comes there is told. */
static void keep_cursor(nats_read_t *x, bool end)
{
    nats_cursor_t *c = x->cursor;

    if (!c || end || consumer_state(c->consumer) == CONSUMER_BROKEN) return;
    make_room(x->engine);
    c->at = x->at;
    c->read = NULL;
    x->cursor = NULL;
}

static void answer(nats_read_t *x, bool end)
{
    nats_t *e = x->engine;
    log_read_t *r = x->r;

    if (end && x->at < x->until) x->at = x->until;
    r->reached = x->at;
    r->end = end || x->at >= x->until;
    r->events = x->page->events;
    r->count = x->page->count;
    x->page->next = e->pages;
    e->pages = x->page;
    x->page = NULL;
    keep_cursor(x, r->end);
    read_free(x);
    log_answer(e->front, &r->base, LOG_OK, NULL);
}

/* What there is by now is an answer; where there is nothing, the front asks again. */
static void end_early(nats_read_t *x, const char *why)
{
    if (x->looks) answer(x, false);
    else fail_read(x, why);
}

/* ---- events */

static int topic_order(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(ulid_t));
}

static bool is_wanted(const nats_read_t *x, const log_event_t *event)
{
    const log_read_t *r = x->r;

    if (x->by_time && memcmp(&event->id, &r->id, sizeof r->id) < 0) return false;
    return !r->topic_count ||
           bsearch(&event->topic, r->topics, r->topic_count, sizeof *r->topics, topic_order);
}

static bool is_full(const nats_read_t *x)
{
    size_t most = x->r->most_bytes && x->r->most_bytes < BYTES_MOST ? x->r->most_bytes : BYTES_MOST;
    return x->page->count >= x->r->most_events || x->page->bytes >= most || x->looks >= LOOKS_MOST;
}

/* Looks at one event that came. */
static void look_at(nats_read_t *x, const char *subject, uint64_t sequence, uint64_t when, nats_message_t *m)
{
    log_event_t event;

    x->looks++;
    x->at = sequence;
    x->sure = x->more = false;
    if (nats_event_of(x->project, subject, sequence, when, m->data, &event) && is_wanted(x, &event))
        page_put(x->page, &event, m);
}

static void ask_leader(nats_read_t *x);

/* There is no event that this replica knows. */
static void at_end(nats_read_t *x)
{
    if (x->at >= x->until || x->project->replicas == 1 || (x->sure && !x->more)) {
        answer(x, true);
        return;
    }
    x->topic = 0;
    ask_leader(x);
}

/* ---- by a cursor */

static void pull(nats_read_t *x)
{
    uint64_t pending = consumer_pending(x->cursor->consumer);
    size_t most = LOOKS_MOST - x->looks, wanted = x->r->most_events - x->page->count;

    if (x->more) pending = 1;
    if (wanted > most) wanted = most;
    if (x->r->topic_count > FILTERS_MOST || x->by_time) wanted = most;
    if (pending < wanted) wanted = (size_t)pending;
    consumer_pull(x->cursor->consumer, wanted, x->more);
    if (consumer_state(x->cursor->consumer) == CONSUMER_BROKEN) end_early(x, NATS_UNREACHED);
}

/* False: it is answered. */
static bool take_ready(nats_read_t *x)
{
    consumer_t *c = x->cursor->consumer;
    delivered_t *d;

    while ((d = consumer_first(c)) != NULL) {
        if (d->sequence > x->until) {
            answer(x, true);
            return false;
        }
        look_at(x, d->message.subject, d->sequence, d->when, &d->message);
        consumer_drop_first(c);
        if (!is_full(x)) continue;
        answer(x, false);
        return false;
    }
    return true;
}

static void go_on(nats_read_t *x)
{
    consumer_t *c = x->cursor->consumer;

    if (!take_ready(x)) return;
    if (consumer_state(c) == CONSUMER_BROKEN) end_early(x, consumer_fault(c));
    else if (consumer_waits(c)) return;
    else if (x->at >= x->until) answer(x, true);
    else if (consumer_pending(c) == 0 && !x->more) at_end(x);
    else pull(x);
}

static void on_cursor(void *user)
{
    nats_cursor_t *c = user;
    if (c->read) go_on(c->read);
}

static void begin_cursor(nats_read_t *x)
{
    nats_cursor_t *c = x->engine->cursors;

    while (c && (x->by_time || !cursor_is_for(c, x))) c = c->next;
    x->cursor = c ? c : cursor_new(x);
    x->cursor->read = x;
    go_on(x);
}

/* ---- one by one */

static void ask_next(nats_read_t *x);

/* A message of DIRECT.GET. False: it has not what such a one has. */
static bool read_direct(const nats_message_t *m, const char **subject, uint64_t *sequence, uint64_t *when)
{
    const char *number = nats_message_header(m, "Nats-Sequence"), *time;

    *subject = nats_message_header(m, "Nats-Subject");
    time = nats_message_header(m, "Nats-Time-Stamp");
    *sequence = number ? strtoull(number, NULL, 10) : 0;
    return *subject && *sequence && time && nats_time_read(time, when);
}

static const char *direct_fault(const nats_message_t *m)
{
    return !m ? "NATS did not answer a read in time" : "NATS could not answer a read";
}

static bool on_next(void *user, uint64_t number, nats_message_t *m)
{
    nats_read_t *x = user;
    const char *subject;
    uint64_t sequence, when;

    (void)number;
    x->request = 0;
    if (m && m->status == 404) {
        at_end(x);
    } else if (!m || m->status || !read_direct(m, &subject, &sequence, &when)) {
        end_early(x, direct_fault(m));
    } else if (sequence > x->until) {
        answer(x, true);
    } else {
        look_at(x, subject, sequence, when, m);
        if (is_full(x)) answer(x, false);
        else ask_next(x);
    }
    return false;
}

static void get(nats_read_t *x, const char *what, uint64_t sequence, const ulid_t *topic,
                nats_reply_fn_t *done)
{
    char body[NATS_SUBJECT_BYTES], text[ULID_TEXT + 1] = ">";

    if (topic) ulid_text(topic, text);
    snprintf(body, sizeof body, "{\"seq\":%" PRIu64 ",\"next_by_subj\":\"%s.%s\"}", sequence,
             x->project->subject, text);
    x->request = nats_api(x->engine, what, x->project->stream, body, NATS_API_MS, done, x);
    if (!x->request) end_early(x, NATS_UNREACHED);
}

static void ask_next(nats_read_t *x)
{
    get(x, "DIRECT.GET", x->at + 1, x->r->topic_count ? x->r->topics : NULL, on_next);
}

static void read_events(nats_read_t *x)
{
    if (x->at >= x->until) answer(x, true);
    else if (x->r->most_events <= FEW && x->r->topic_count <= 1 && !x->by_time) ask_next(x);
    else begin_cursor(x);
}

/* ---- the leader */

static void go_on_surely(nats_read_t *x, bool more)
{
    x->sure = true;
    x->more = more;
    if (!more) answer(x, true);
    else if (x->cursor) pull(x);
    else begin_cursor(x);
}

static bool on_leader(void *user, uint64_t number, nats_message_t *m)
{
    nats_read_t *x = user;
    size_t topics = x->r->topic_count && x->r->topic_count <= FILTERS_MOST ? x->r->topic_count : 1;
    nats_answer_t a;

    (void)number;
    x->request = 0;
    nats_answer_read(m, &a);
    if (a.code && a.code != NATS_NO_MESSAGE) end_early(x, a.text);
    else if (!a.code && a.sequence <= x->until) go_on_surely(x, true);
    else if (++x->topic < topics) ask_leader(x);
    else go_on_surely(x, false);
    return false;
}

static void ask_leader(nats_read_t *x)
{
    bool named = x->r->topic_count && x->r->topic_count <= FILTERS_MOST;
    get(x, "STREAM.MSG.GET", x->at + 1, named ? &x->r->topics[x->topic] : NULL, on_leader);
}

/* ---- the place of an id */

/* The highest sequence with the id's lower part that can be there; 0: there is none. */
static uint64_t sequence_of(const nats_read_t *x)
{
    const uint8_t *b = x->r->id.b;
    uint32_t part = (uint32_t)b[6] << 24 | (uint32_t)b[7] << 16 | (uint32_t)b[8] << 8 | b[9];
    uint64_t last = x->project->last, sequence = (last & ~(uint64_t)UINT32_MAX) | part;

    if (sequence <= last) return sequence;
    return sequence > UINT32_MAX ? sequence - ((uint64_t)1 << 32) : 0;
}

/* No event has the id, as far as this replica knows: the first one of a higher id is found by its time. */
static void find_by_time(nats_read_t *x)
{
    x->by_time = true;
    if (ms_of(&x->r->id) > TIME_MS_MOST) answer(x, true);
    else read_events(x);
}

static bool on_id(void *user, uint64_t number, nats_message_t *m)
{
    nats_read_t *x = user;
    const char *subject;
    uint64_t sequence, when;
    log_event_t event;

    (void)number;
    x->request = 0;
    if (!m || (m->status && m->status != 404)) {
        fail_read(x, direct_fault(m));
    } else if (m->status || !read_direct(m, &subject, &sequence, &when) ||
               !nats_event_of(x->project, subject, sequence, when, m->data, &event) ||
               memcmp(&event.id, &x->r->id, sizeof event.id) != 0) {
        find_by_time(x);
    } else if (sequence > x->until) {
        answer(x, true);
    } else {
        look_at(x, subject, sequence, when, m);
        if (is_full(x)) answer(x, false);
        else read_events(x);
    }
    return false;
}

static void find_id(nats_read_t *x)
{
    uint64_t sequence = sequence_of(x);
    char body[NATS_SUBJECT_BYTES];

    x->at = 0;
    if (!sequence) {
        find_by_time(x);
        return;
    }
    snprintf(body, sizeof body, "{\"seq\":%" PRIu64 "}", sequence);
    x->request = nats_api(x->engine, "DIRECT.GET", x->project->stream, body, NATS_API_MS, on_id, x);
    if (!x->request) fail_read(x, NATS_UNREACHED);
}

/* ---- asked for */

static void begin(nats_read_t *x)
{
    x->until = x->r->until < x->project->last ? x->r->until : x->project->last;
    if (x->r->by_id) find_id(x);
    else read_events(x);
}

static void resolved(nats_read_t *x, project_state_t state, const char *why)
{
    if (state == PROJECT_UNKNOWN) fail_read(x, why);
    else if (state == PROJECT_MISSING) answer(x, true);
    else if (state == PROJECT_KNOWN) begin(x);
}

void nats_read(void *engine, log_read_t *r)
{
    nats_t *e = engine;
    nats_read_t *x = x_alloc(sizeof *x);

    x->engine = e;
    x->r = r;
    x->project = nats_project(e, &r->project);
    x->at = r->by_id ? 0 : r->after;
    x->page = x_alloc(sizeof *x->page);
    x->next = e->reads;
    x->back = &e->reads;
    if (x->next) x->next->back = &x->next;
    e->reads = x;
    resolved(x, nats_ensure(x->project, false), NATS_UNREACHED);
}

/* Those that have begun ask for something of their own. */
static bool waits_for_stream(const nats_read_t *x)
{
    return !x->request && !x->cursor;
}

void nats_reads_resolved(nats_project_t *p, const char *why)
{
    nats_read_t *next;

    for (nats_read_t *x = p->engine->reads; x; x = next) {
        next = x->next;
        if (x->project == p && waits_for_stream(x)) resolved(x, p->state, why);
    }
}

bool nats_read_cancel(nats_t *e, const log_request_t *r)
{
    for (nats_read_t *x = e->reads; x; x = x->next) {
        if (&x->r->base != r) continue;
        read_free(x);
        return true;
    }
    return false;
}

void nats_reads_free(nats_t *e)
{
    while (e->reads) read_free(e->reads);
    while (e->cursors) cursor_free(e->cursors);
    nats_pages_age(e);
    nats_pages_age(e);
}
