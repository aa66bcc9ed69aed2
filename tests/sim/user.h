/* user.h - the program of a run: what it opens, does with it, and is told of it
 *
 * A slot is a place for one handle of one kind. What a handle is told is checked as it comes; what must have
 * come by a certain time is checked in checks.h. */
#ifndef USER_H
#define USER_H

#include "model.h"

enum { SUBS = 2, QUERIES = 2, REQS = 3, PUBS = 3, CALLS = 4, SLOTS = SUBS + QUERIES + REQS + PUBS + CALLS };
enum { EVENTS_MOST = 600, DRAIN_MS = 20000, LAZY_MS = 300 }; /* LAZY_MS: so long a program may not pull */

typedef enum { SLOT_SUB, SLOT_QUERY, SLOT_REQ, SLOT_PUB, SLOT_CALL } slot_kind_t;
typedef enum { REQ_CREATE, REQ_ENSURE, REQ_FIND, REQ_EXISTS, REQ_LIST, REQ_STATUS, REQ_WATCH } req_kind_t;

typedef struct slot_t {
    slot_kind_t kind;
    unsigned number;                /* in `slots` */
    uint32_t id;
    bool open, held, closing;
    uint64_t since_ms;              /* of its last progress */
    bool waited;                    /* the WAITING that was given last still counts */
    uint32_t retry_ms;              /* as it said */
    uint64_t tried_ms;              /* the time of that, of the last try since, or of its progress */
    unsigned tries;                 /* until then, see net_t */
    size_t bound;                   /* of its memory */
    /* publishers */
    publisher_t *pub;
    bool opened, wants_room, draining, flushing;
    uint64_t drain_until_ms, drained_to;
    uint64_t used_ms, unheld_ms;    /* of its last answer, and when it was held last */
    /* requests */
    req_kind_t req;
    unsigned topic, changes, seen;  /* changes: of the topics, when it was opened */
    uint64_t count;                 /* notices */
    /* subscriptions, queries, calls */
    uint64_t last;
    uint32_t sent, got, deadline_ms;
    bool unary, half, stopped;
    uint64_t opened_ms;
    tries_t *call;
    /* subscriptions: what they have had of the log, by topic */
    bool resume;
    uint64_t from;
    unsigned wanted, upsets;        /* wanted: topics, as bits; upsets: so many were before, */
    unsigned rows_refused, changed; /* and so many queries were refused, and topics made or removed */
    unsigned excused;               /* bits: of these topics events may be missing before the next one */
    size_t due[TOPICS], had[TOPICS]; /* entries from `due` on must come, before `had` none may */
    uint64_t epoch[TOPICS], offset[TOPICS]; /* of the last event; 0: none came, or it had none */
    /* subscriptions, watches */
    const flow_t *stays;            /* on a connection that drains, beside the next one; NULL: it does not */
    uint64_t stays_ms;              /* since then */
} slot_t;

static slot_t slots[SLOTS];
static size_t dying, dying_more;    /* bounds of the handles that have ended, or whose last notice stands */
static bool client_closed, client_failed;
static bool connected;              /* no connection has failed since CONNECTED */

static void user_begin(void)
{
    static const unsigned counts[] = { SUBS, QUERIES, REQS, PUBS, CALLS };
    unsigned kind, i, n = 0;
    memset(slots, 0, sizeof slots);
    dying = dying_more = 0;
    client_closed = client_failed = connected = false;
    for (kind = 0; kind < COUNT(counts); kind++) {
        for (i = 0; i < counts[kind]; i++, n++) {
            slots[n].kind = (slot_kind_t)kind;
            slots[n].number = n;
        }
    }
}

static slot_t *some_slot(world_t *w, slot_kind_t kind)
{
    unsigned at = world_below(w, SLOTS), i;
    for (i = 0; i < SLOTS; i++) {
        slot_t *s = &slots[(at + i) % SLOTS];
        if (s->kind == kind) return s;
    }
    return NULL;
}

static void progress(world_t *w, slot_t *s)
{
    s->since_ms = s->tried_ms = w->now;
}

static void slot_opened(world_t *w, slot_t *s, uint32_t id, size_t bound)
{
    unsigned number = s->number;
    tell("slot %u opened", number);
    s->id = id;
    s->open = id != 0;
    s->bound = bound;
    s->opened_ms = w->now;
    progress(w, s);
    if (!id && !w->fault && ensign_error(w->client)->code != ENSIGN_E_STATE)
        sim_die("slot %u could not be opened: %s", number, ensign_error(w->client)->text);
}

static void slot_over(slot_t *s)
{
    s->open = s->held = false;
    dying_more += s->bound;
    if (s->pub) s->pub->ended = true;
}

/* Zeros all that a new handle starts with. */
static void slot_clear(slot_t *s)
{
    slot_kind_t kind = s->kind;
    unsigned number = s->number;
    memset(s, 0, sizeof *s);
    s->kind = kind;
    s->number = number;
}

/* "s0" names slot 0. */
static const char *slot_name(const slot_t *s)
{
    static char text[3] = "s0";
    text[1] = (char)('0' + s->number);
    return text;
}

/* ------------------------------------------------------------------ opening */
static publisher_t *publisher_new(void)
{
    publisher_t *p;
    if (published_count == PUBS_MOST) return NULL;
    p = (publisher_t *)calloc(1, sizeof *p);
    if (!p) abort();
    p->number = published_count;
    p->newest = -1;
    published[published_count++] = p;
    return p;
}

static void open_publisher(world_t *w, slot_t *s)
{
    ensign_publisher_desc_t d;
    publisher_t *p = publisher_new();
    if (!p) return;
    slot_clear(s);
    memset(&d, 0, sizeof d);
    p->once = world_below(w, 4) == 0;
    p->quiet = world_below(w, 5) == 0;
    p->ensure = world_below(w, 3) == 0;
    d.topic = service_topic_name(world_below(w, 2));
    d.at_most_once = p->once;
    d.quiet_acks = p->quiet;
    d.ensure_topic = p->ensure;
    d.buffer_bytes = 1024u << world_below(w, 5);
    d.max_event_bytes = 16384;
    d.max_reply_bytes = 16384;
    d.window_bytes = 1024u << world_below(w, 5);
    d.max_in_flight = 1 + world_below(w, 60);
    d.ack_timeout_ms = 500 + world_below(w, 5000);
    d.user = s;
    s->pub = p;
    s->topic = strcmp(d.topic, "weather") == 0 ? 0 : 1;
    TALLY(user, publisher);
    if (p->once) TALLY(user, at_most_once);
    if (p->quiet) TALLY(user, quiet_acks);
    if (p->ensure) TALLY(user, ensure_topic);
    slot_opened(w, s, ensign_publisher_open(w->client, &d).id, ensign_publisher_memory_bound(&d));
    if (!s->open) p->ended = true;
}

static void open_subscription(world_t *w, slot_t *s)
{
    const char *names[2];
    ensign_subscription_desc_t d;
    slot_clear(s);
    memset(&d, 0, sizeof d);
    names[0] = service_topic_name(0);
    names[1] = service_topic_name(1 + world_below(w, TOPICS - 1));
    d.topics = names;
    d.topic_count = world_below(w, 3);
    d.ensure_topics = world_below(w, 2) != 0;
    d.query = slot_name(s);
    d.window_bytes = 1024u << world_below(w, 4);
    d.max_event_bytes = EVENT_MOST;
    d.max_unacked = 1 + world_below(w, 100);
    d.user = s;
    d.resume = world_below(w, 3) != 0;
    if (world_below(w, 3) == 0) d.from = ENSIGN_FROM_START;
    if (d.from && world_below(w, 2)) d.from += world_below(w, (uint32_t)events.last + 1);
    s->resume = d.resume;
    s->from = d.from;
    s->upsets = events.upsets;
    s->rows_refused = model.rows_refused;
    s->changed = topics.changes;
    for (size_t i = 0; i < d.topic_count; i++)
        s->wanted |= 1u << service_topic_named(text_slice(names[i]), TOPICS);
    if (d.topic_count == 0) s->wanted = UINT32_MAX;
    if (!d.from) s->excused = UINT32_MAX;
    TALLY(user, subscription);
    if (d.resume) TALLY(user, resume);
    if (d.from) TALLY(user, from);
    slot_opened(w, s, ensign_subscription_open(w->client, &d).id, ensign_subscription_memory_bound(&d));
}

static void open_query(world_t *w, slot_t *s)
{
    ensign_query_desc_t d;
    slot_clear(s);
    memset(&d, 0, sizeof d);
    d.sql = slot_name(s);
    d.window_bytes = 1024u << world_below(w, 4);
    d.max_event_bytes = 16384;
    if (world_below(w, 2)) d.timeout_ms = s->deadline_ms = 1 + world_below(w, 5000);
    d.user = s;
    TALLY(user, query);
    slot_opened(w, s, ensign_query_open(w->client, &d).id, ensign_query_memory_bound(&d));
}

static ensign_request_t open_create(world_t *w, slot_t *s, const char *name)
{
    const char *key = slot_name(s);
    ensign_dedup_t dedup;
    TALLY(user, create);
    memset(&dedup, 0, sizeof dedup);
    dedup.strategy = ENSIGN_DEDUP_KEY_GROUPED;
    dedup.keys = &key;
    dedup.key_count = 1;
    model.creates[s->number] = 0;
    return ensign_topic_create(w->client, name, &dedup, s);
}

static void open_request(world_t *w, slot_t *s)
{
    const char *name;
    ensign_request_t r;
    ensign_ulid_t id;
    slot_clear(s);
    s->req = world_below(w, 5) ? (req_kind_t)world_below(w, REQ_WATCH) : REQ_WATCH;
    s->topic = world_below(w, TOPICS);
    s->changes = topics.changes;
    name = service_topic_name(s->topic);
    topic_id(s->topic, id.b);
    r.id = 0;
    switch (s->req) {
    case REQ_CREATE: r = open_create(w, s, name); break;
    case REQ_ENSURE:
        TALLY(user, ensure);
        r = ensign_topic_ensure(w->client, name, s);
        break;
    case REQ_FIND:
        TALLY(user, find);
        r = ensign_topic_by_name(w->client, name, s);
        break;
    case REQ_EXISTS:
        TALLY(user, exists);
        if (world_below(w, 2)) r = ensign_topic_exists(w->client, name, NULL, s);
        else r = ensign_topic_exists(w->client, NULL, &id, s);
        break;
    case REQ_LIST:
        TALLY(user, list);
        r = ensign_topic_list(w->client, s);
        break;
    case REQ_STATUS:
        TALLY(user, status);
        r = ensign_status(w->client, s);
        break;
    case REQ_WATCH:
        TALLY(user, watch);
        r = ensign_health(w->client, slot_name(s), true, s);
        break;
    }
    slot_opened(w, s, r.id, ensign_request_memory_bound(&w->desc));
}

/* Its own, or that of the client's `methods`. */
static void draw_retry(world_t *w, slot_t *s, ensign_call_desc_t *d)
{
    ensign_retry_t all = w->desc.methods[0].retry;
    if (world_below(w, 2)) {
        TALLY(user, retry);
        d->retry.max_attempts = all.max_attempts = 1 + world_below(w, 5);
        d->retry.statuses = all.statuses = 1u << ENSIGN_GRPC_UNAVAILABLE | (world_below(w, 0x10000) << 1);
    } else if (all.max_attempts > 1) {
        TALLY(user, retry_of_method);
    }
    s->call = attempts_new(&all);
}

static void open_call(world_t *w, slot_t *s, bool unary)
{
    static const uint8_t once[8] = { 0, 0, 0, 0, 'o', 'n', 'c', 'e' };
    ensign_header_t names[2];
    char number[16];
    ensign_call_desc_t d;
    slot_clear(s);
    memset(&d, 0, sizeof d);
    draw_retry(w, s, &d);
    if (!s->call) return;
    snprintf(number, sizeof number, "%u", (unsigned)(s->call - calls));
    names[0].key = "x-slot";
    names[0].value = text_slice(slot_name(s));
    names[1].key = "x-call";
    names[1].value = text_slice(number);
    d.method = "/test.Service/Echo";
    d.metadata = names;
    d.metadata_count = 2;
    d.unary = s->unary = s->half = unary;
    d.wait_for_ready = world_below(w, 2) != 0;
    if (d.unary) d.request = slice_of(once, sizeof once);
    d.window_bytes = 1024u << world_below(w, 5);
    d.send_buffer_bytes = 1024u << world_below(w, 5);
    d.max_message_bytes = d.max_send_bytes = 16384;
    if (d.unary || world_below(w, 4) == 0) d.deadline_ms = s->deadline_ms = 1 + world_below(w, 6000);
    d.user = s;
    if (d.unary) TALLY(user, unary_call);
    else TALLY(user, streaming_call);
    slot_opened(w, s, ensign_call_open(w->client, &d).id, ensign_call_memory_bound(&d));
}

static void open_slot(world_t *w, slot_t *s)
{
    if (s->open || client_closed || client_failed) return;
    switch (s->kind) {
    case SLOT_SUB: open_subscription(w, s); break;
    case SLOT_QUERY: open_query(w, s); break;
    case SLOT_REQ: open_request(w, s); break;
    case SLOT_PUB: open_publisher(w, s); break;
    case SLOT_CALL: open_call(w, s, world_below(w, 2) == 0); break;
    }
}

/* ------------------------------------------------------------------ using */
static event_t *event_new(publisher_t *p)
{
    if (p->count == p->cap) {
        p->cap = p->cap * 2 + 32;
        p->events = (event_t *)realloc(p->events, p->cap * sizeof *p->events);
        if (!p->events) abort();
    }
    memset(&p->events[p->count], 0, sizeof *p->events);
    return &p->events[p->count];
}

/* The event of this number, drawn anew; its bytes are in `data`. */
static ensign_event_t event_draw(world_t *w, const slot_t *s, event_t *x, uint8_t *data, ensign_pair_t *pairs)
{
    static const int32_t mimes[] = { 0, 1, 50, 1000 };
    static const char *const values[] = { "a", "b", "c" };
    static const char *const keys[] = { "one", "two", "three" };
    ensign_event_t e;
    uint32_t i;
    memset(&e, 0, sizeof e);
    x->way = (uint8_t)(world_below(w, 4) ? BY_DEFAULT : world_below(w, WAYS));
    x->topic = (uint8_t)(x->way == BY_DEFAULT ? s->topic : world_below(w, TOPICS));
    x->len = 5 + world_below(w, world_below(w, 8) ? 60 : 3000);
    x->mime = mimes[world_below(w, COUNT(mimes))];
    x->pairs = (uint8_t)world_below(w, COUNT(keys) + 1);
    for (i = 0; i < x->len; i++) data[i] = event_byte(s->pub->number, s->pub->count, i);
    for (i = 0; i < x->pairs; i++) {
        pairs[i].key = keys[i];
        pairs[i].value = values[i];
    }
    if (x->way == BY_NAME) e.topic = service_topic_name(x->topic);
    if (x->way == BY_ID) topic_id(x->topic, e.to_topic_id.b);
    e.data = slice_of(data, x->len);
    e.mimetype = x->mime;
    e.pairs = pairs;
    e.pair_count = x->pairs;
    e.tag = s->pub->count;
    return e;
}

static void publish(world_t *w, slot_t *s)
{
    static uint8_t data[3200];
    ensign_pair_t pairs[3];
    ensign_event_t e;
    event_t *x;
    ensign_publisher_t h;
    int rc;
    if (!s->open || s->flushing || s->pub->count >= EVENTS_MOST) return;
    x = event_new(s->pub);
    e = event_draw(w, s, x, data, pairs);
    h.id = s->id;
    if (s->pub->count == s->pub->acked + s->pub->nacked) progress(w, s); /* until now nothing was owed */
    rc = ensign_publish(w->client, h, &e);
    if (rc == ENSIGN_OK) {
        s->pub->count++;
        TALLY(user, publish);
        if (x->way == BY_NAME) TALLY(user, publish_by_name);
        if (x->way == BY_ID) TALLY(user, publish_by_id);
    } else if (rc == ENSIGN_AGAIN) {
        s->wants_room = true;
        TALLY(user, publish_again);
    } else if (rc == ENSIGN_ENDED || (rc == ENSIGN_E_STATE && s->closing) ||
               (rc == ENSIGN_E_MEMORY && w->fault)) {
        TALLY(user, publish_refused);
    } else {
        sim_die("ensign_publish gave %d: %s", rc, ensign_error(w->client)->text);
    }
}

static void drain(world_t *w, slot_t *s)
{
    ensign_publisher_t h;
    uint32_t ms = world_below(w, 2) ? 100 + world_below(w, 3000) : DRAIN_MS;
    int rc;
    if (!s->open || s->closing) return;
    h.id = s->id;
    rc = ensign_publisher_drain(w->client, h, ms);
    if (rc == ENSIGN_ENDED) return;
    if (rc != ENSIGN_OK) sim_die("ensign_publisher_drain: %s", ensign_error(w->client)->text);
    s->draining = true;
    s->drained_to = s->pub->count;
    s->drain_until_ms = w->now + ms;
    if (world_below(w, 2)) {
        TALLY(user, flush);
        s->flushing = true;
    } else {
        TALLY(user, drain);
    }
}

static void use_publisher(world_t *w)
{
    slot_t *s = some_slot(w, SLOT_PUB);
    uint32_t burst = 1 + world_below(w, 8);
    if (!s->open) return;
    if (world_below(w, 30) == 0) drain(w, s);
    while (burst-- > 0) publish(w, s);
}

static void use_call(world_t *w)
{
    static uint8_t data[8000];
    slot_t *s = some_slot(w, SLOT_CALL);
    ensign_call_t h;
    int rc = ENSIGN_OK;
    h.id = s->id;
    if (!s->open || s->half) return;
    if (world_below(w, 8)) {
        TALLY(user, send);
        memcpy(data, &s->sent, sizeof s->sent);
        rc = ensign_call_send(w->client, h,
                              slice_of(data, 4 + world_below(w, world_below(w, 4) ? 90 : 7900)), 0);
        if (rc == ENSIGN_OK) s->sent++;
    } else {
        TALLY(user, half_close);
        rc = ensign_call_half_close(w->client, h);
        if (rc == ENSIGN_OK) s->half = true;
    }
    if (rc < 0 && rc != ENSIGN_E_STATE && !(w->fault && rc == ENSIGN_E_MEMORY))
        sim_die("a call that is open gave %d: %s", rc, ensign_error(w->client)->text);
}

static void hold_slot(world_t *w, slot_t *s, bool on)
{
    if (!s->open || s->held == on) return;
    TALLY(user, hold);
    s->held = on;
    s->unheld_ms = w->now;
    if (ensign_hold(w->client, s->id, on) != ENSIGN_OK) sim_die("ensign_hold refuses an open handle");
    progress(w, s);
}

/* Close, cancel, forget. */
static void end_slot(world_t *w, slot_t *s)
{
    uint32_t how = world_below(w, 4);
    int rc;
    if (!s->open) return;
    tell("slot %u is ended", s->number);
    if (how == 0) {
        TALLY(user, forget);
        rc = ensign_forget(w->client, s->id);
        if (s->pub) s->pub->forgotten = true;
        slot_over(s);
    } else if (how == 1) {
        TALLY(user, cancel);
        rc = ensign_cancel(w->client, s->id);
        s->closing = s->stopped = true;
    } else {
        uint32_t ms = how == 2 ? world_below(w, 4000) : ENSIGN_FOREVER;
        if (how == 2) TALLY(user, close_in_time);
        else TALLY(user, close);
        rc = ensign_close(w->client, s->id, ms);
        s->closing = true;
        s->half = true;
    }
    s->flushing = false;
    progress(w, s);
    if (rc != ENSIGN_OK) sim_die("an ending gave %d: %s", rc, ensign_error(w->client)->text);
}

/* ------------------------------------------------------------------ what it is told */
/* The newest stream that names the slot, of this kind; NULL: none came. Of two connections the one that
 * drains can be the later to bring its stream, which has been left: one that lives goes before it. */
static flow_t *slot_flow(const slot_t *s, flow_kind_t kind)
{
    flow_t *f, *newest = NULL;
    for (f = model.flows; f; f = f->next) {
        if (f->kind != kind || !f->named || f->owner != s->number) continue;
        if (flow_lives(f)) return f;
        if (!newest) newest = f;
    }
    return newest;
}

/* Does the server have the slot's stream, and has it answered? */
static bool slot_lives(const slot_t *s, flow_kind_t kind)
{
    const flow_t *f = slot_flow(s, kind);
    return f && flow_lives(f) && f->ready;
}

/* The server's words for a NACK name the event, by the number that the client gave it. */
static void check_words(const ensign_notice_t *n, uint64_t tag)
{
    const char *words = strstr(n->error->text, "says no to event ");
    char own[40];
    if (!words) return;
    snprintf(own, sizeof own, "says no to event %llu.", (llu_t)tag);
    if (strncmp(words, own, strlen(own)) != 0)
        sim_die("the NACK of event %llu has the words of another one: %s", (llu_t)tag, n->error->text);
}

static void heard_answer(slot_t *s, const ensign_notice_t *n)
{
    publisher_t *p = s->pub;
    bool ack = n->type == ENSIGN_NOTICE_ACK;
    uint64_t tag = ack ? n->as.ack.tag : n->as.nack.tag;
    const ensign_event_t *e = ack ? NULL : n->as.nack.event;
    event_t *x;
    uint32_t i;
    if (tag >= p->count) sim_die("an answer for event %u.%llu, which was not accepted", p->number,
                                 (llu_t)tag);
    x = &p->events[tag];
    tell("event %u.%llu has its answer", p->number, (llu_t)tag);
    if (x->acks + x->nacks > 0) sim_die("event %u.%llu was answered twice", p->number, (llu_t)tag);
    if (ack) {
        x->acks++;
        p->acked++;
        if (p->quiet) sim_die("an ACK notice in spite of quiet_acks");
        if (!x->stored && !x->lied)
            sim_die("event %u.%llu has an ACK and is not stored", p->number, (llu_t)tag);
        return;
    }
    x->nacks++;
    p->nacked++;
    x->said_no = n->as.nack.stored == ENSIGN_STORED_NO;
    if (x->said_no && x->stored)
        sim_die("event %u.%llu is stored, its NACK says STORED_NO: %s", p->number, (llu_t)tag,
                n->error ? n->error->text : "-");
    check_words(n, tag);
    if (e->data.len != x->len || e->mimetype != x->mime || e->tag != tag)
        sim_die("event %u.%llu comes back from its NACK as another one", p->number, (llu_t)tag);
    for (i = 0; i < x->len; i++) {
        if (e->data.ptr[i] != event_byte(p->number, tag, i))
            sim_die("event %u.%llu comes back from its NACK with another byte %u", p->number,
                    (llu_t)tag, i);
    }
}

/* All that was accepted has been answered, before END; quiet ACKs are counted. */
static void heard_publisher_end(slot_t *s, const ensign_notice_t *n)
{
    publisher_t *p = s->pub;
    uint64_t i;
    if (n->as.end.count + p->nacked != p->count)
        sim_die("publisher %u: %llu events accepted, %llu acked and %llu nacked at END", p->number,
                (llu_t)p->count, (llu_t)n->as.end.count, (llu_t)p->nacked);
    for (i = 0; i < p->count; i++) {
        const event_t *x = &p->events[i];
        if (!p->quiet && x->acks + x->nacks != 1)
            sim_die("publisher %u: END before event %llu was answered", p->number, (llu_t)i);
        if (p->quiet && x->nacks == 0 && !x->stored && !x->lied)
            sim_die("event %u.%llu has no NACK, and is not stored", p->number, (llu_t)i);
    }
}

/* Answers have come within give_up_after_ms, so that is no reason to end. */
static void check_patience(const world_t *w, const slot_t *s, const ensign_notice_t *n)
{
    uint64_t since = w->now - s->used_ms;
    if (!n->error || s->closing || n->as.end.from_server || model.auth_refused) return;
    if (strncmp(n->error->text, "auth:", 5) == 0) return; /* an old token can serve while no new one comes */
    if (since < w->desc.give_up_after_ms)
        sim_die("publisher %u gives up %llu ms after an answer: %s", s->pub->number, (llu_t)since,
                n->error->text);
}

/* An answer ends the failures: no more can be counted than streams came since, and the one that gave it. Where
 * the connection fails its own attempts are counted. */
static void check_failures(const world_t *w, const slot_t *s, const ensign_notice_t *n)
{
    unsigned streams = 1;
    const flow_t *f;
    if (w->fault || net.unseen || !connected || w->desc.client_id || s->used_ms == 0) return;
    if (strncmp(n->error->text, "grpc:", 5) != 0) return;
    for (f = model.flows; f; f = f->next) streams += f->kind == FLOW_PUBLISH && f->opened_ms >= s->used_ms;
    if (n->as.waiting.failures > streams)
        sim_die("publisher %u counts %u failures since an answer, with %u streams", s->pub->number,
                n->as.waiting.failures, streams);
}

static void heard_publisher(world_t *w, slot_t *s, const ensign_notice_t *n)
{
    switch (n->type) {
    case ENSIGN_NOTICE_ACK:
    case ENSIGN_NOTICE_NACK:
        heard_answer(s, n);
        /* what waited to be pulled is older; an old connection may still answer while no new one comes */
        if (n->type == ENSIGN_NOTICE_ACK && s->unheld_ms != w->now && connected)
            s->used_ms = w->now - LAZY_MS;
        break;
    case ENSIGN_NOTICE_OPEN: s->opened = true; break;
    case ENSIGN_NOTICE_ROOM: s->wants_room = false; break;
    case ENSIGN_NOTICE_DRAINED:
        if (!s->draining) sim_die("DRAINED, and no drain was asked for");
        if (n->as.drained.left == 0 && !s->pub->quiet && s->pub->acked + s->pub->nacked < s->drained_to)
            sim_die("DRAINED stands before the answers of what was published");
        s->draining = s->flushing = false;
        break;
    case ENSIGN_NOTICE_END:
        heard_publisher_end(s, n);
        check_patience(w, s, n);
        break;
    case ENSIGN_NOTICE_WAITING: check_failures(w, s, n); break;
    default: sim_die("a publisher got %s", ensign_notice_name(n->type));
    }
}

/* Since the subscription was opened the server has kept all of its log, and places, or else it has answered
 * each query for what was missed. */
static bool undisturbed(const slot_t *s)
{
    bool queries = s->rows_refused == model.rows_refused && s->changed == topics.changes && !s->from;
    return s->resume && s->upsets == events.upsets && (events.places || queries);
}

/* Does the subscription have to be given this entry? */
static bool must_come(const slot_t *s, const entry_t *e)
{
    bool there = !e->gone && !e->shadowed && !log_too_large(e);
    return there && (s->wanted & 1u << e->topic) && e->offset >= s->from;
}

/* Each event comes once, in order within its topic, and a GAP stands where some are missing. */
static void heard_event(const world_t *w, slot_t *s, const ensign_event_t *e)
{
    size_t number = (size_t)be64_get(e->data.ptr), i;
    const entry_t *x = &events.entry[number];
    unsigned topic = x->topic;
    bool excused = s->excused & 1u << topic || (w->fault && !undisturbed(s)); /* no memory for a GAP */
    if (number >= events.count || x->len != e->data.len || log_too_large(x))
        sim_die("an event that nobody sent");
    tell("slot %u has event %zu of topic %u, offset %llu", s->number, number, topic, (llu_t)x->offset);
    if (number + 1 == s->had[topic] && !s->resume) return; /* the server has sent it twice */
    if (number < s->had[topic])
        sim_die("slot %u: event %zu of topic %u comes behind event %zu", s->number, number, topic,
                s->had[topic] - 1);
    for (i = s->due[topic]; i < number && !excused; i++) {
        if (events.entry[i].topic == topic && must_come(s, &events.entry[i]))
            sim_die("slot %u: event %zu of topic %u comes without event %zu, and without a GAP", s->number,
                    number, topic, i);
    }
    if (s->epoch[topic] && e->epoch && s->epoch[topic] != e->epoch && !excused)
        sim_die("slot %u: another epoch without a GAP", s->number);
    if (e->epoch && s->epoch[topic] == e->epoch && e->offset <= s->offset[topic] && !excused)
        sim_die("slot %u: offset %llu of topic %u comes behind %llu, without a GAP", s->number,
                (llu_t)e->offset, topic, (llu_t)s->offset[topic]);
    s->epoch[topic] = e->epoch;
    s->offset[topic] = e->offset;
    s->had[topic] = number + 1;
    if (s->due[topic] < number + 1) s->due[topic] = number + 1;
    s->excused &= ~(1u << topic);
}

static void heard_gap(slot_t *s, const ensign_notice_t *n)
{
    if (n->error->code == ENSIGN_E_TOO_LARGE) return;
    if (undisturbed(s)) sim_die("slot %u: a GAP, and nothing is missing: %s", s->number, n->error->text);
    s->excused = UINT32_MAX;
}

/* From now on a stream has begun: what is published behind this must come. */
static void heard_begin(slot_t *s)
{
    if (s->opened || s->from) return;
    s->opened = true;
    s->excused = 0;
    for (unsigned i = 0; i < TOPICS; i++) s->due[i] = events.count;
}

static void heard_subscription(world_t *w, slot_t *s, const ensign_notice_t *n)
{
    ensign_subscription_t h;
    int rc;
    h.id = s->id;
    if (n->type == ENSIGN_NOTICE_OPEN) heard_begin(s);
    if (n->type == ENSIGN_NOTICE_GAP) heard_gap(s, n);
    if (n->type != ENSIGN_NOTICE_EVENT) return;
    heard_event(w, s, n->as.event);
    if (world_below(w, 4) == 0) return;
    if (world_below(w, 6)) {
        TALLY(user, ack);
        rc = ensign_ack(w->client, h, n->as.event->token);
    } else {
        TALLY(user, nack);
        rc = ensign_nack(w->client, h, n->as.event->token, ENSIGN_NACK_UNPROCESSED);
    }
    if (rc != ENSIGN_OK && rc != ENSIGN_ENDED && rc != ENSIGN_E_STALE && !s->closing && !w->fault)
        sim_die("ensign_ack gave %d: %s", rc, ensign_error(w->client)->text);
}

static void heard_query(slot_t *s, const ensign_notice_t *n)
{
    uint32_t number;
    flow_t *f;
    if (n->type == ENSIGN_NOTICE_EVENT) {
        memcpy(&number, n->as.event->data.ptr, sizeof number);
        if (number != s->got++) sim_die("row %u of a query instead of %u", number, s->got - 1);
    }
    if (n->type != ENSIGN_NOTICE_END) return;
    if (n->as.end.count != s->got) sim_die("END counts %llu rows, %u came", (llu_t)n->as.end.count,
                                           s->got);
    if (n->error || s->closing) return;
    f = slot_flow(s, FLOW_QUERY);
    if (!f || !f->ready || f->rows != s->got)
        sim_die("a query ended well with %u rows of %u", s->got, f ? f->rows : 0);
}

/* A request that only reads, or that ensures, is asked again until its time is over. */
static void check_asked_again(const world_t *w, const slot_t *s, const ensign_notice_t *n)
{
    bool gives_up = w->fault || w->desc.give_up_after_ms || model.auth_refused;
    if (s->req == REQ_CREATE || s->req == REQ_WATCH || s->closing || gives_up) return;
    if (n->as.end.from_server || n->as.end.status != ENSIGN_GRPC_UNAVAILABLE) return;
    if (w->now - s->opened_ms < w->desc.request_timeout_ms)
        sim_die("a request that could be asked again ends: %s", n->error->text);
}

static void heard_request(const world_t *w, slot_t *s, const ensign_notice_t *n)
{
    bool same = topics.changes == s->changes;
    s->count++;
    switch (n->type) {
    case ENSIGN_NOTICE_TOPIC:
        s->seen |= 1u << (n->as.topic->id.b[15] - 1u);
        if (s->req != REQ_LIST && n->as.topic->id.b[15] != s->topic + 1)
            sim_die("a request for topic %u has topic %u for an answer", s->topic,
                    n->as.topic->id.b[15] - 1u);
        break;
    case ENSIGN_NOTICE_EXISTS:
        if (same && n->as.exists.exists != topic_there(s->topic))
            sim_die("topic %u: EXISTS says %d", s->topic, n->as.exists.exists);
        break;
    case ENSIGN_NOTICE_END:
        if (!n->error && s->req == REQ_LIST && same && s->seen != topics.there)
            sim_die("a list has the topics %x of %x", s->seen, topics.there);
        if (n->error && n->error->code == ENSIGN_E_NOT_FOUND && same && n->as.end.from_server == false &&
            topic_there(s->topic))
            sim_die("topic %u is there and was not found", s->topic);
        if (n->error) check_asked_again(w, s, n);
        break;
    case ENSIGN_NOTICE_STATUS:
    case ENSIGN_NOTICE_HEALTH:
    case ENSIGN_NOTICE_WAITING: break;
    default: sim_die("a request got %s", ensign_notice_name(n->type));
    }
    if (n->type == ENSIGN_NOTICE_WAITING && s->req != REQ_WATCH) sim_die("a request got WAITING");
}

/* Why a call has failed: what never got out tells what it waited for; no answer of the model is too large. */
static void check_reason(const slot_t *s, const ensign_notice_t *n)
{
    static const char unsent[] = "before it could be sent";
    const char *words = strstr(n->error->text, unsent);
    bool ours = s->unary ? !n->as.reply.from_server : !n->as.end.from_server;
    int status = s->unary ? n->as.reply.status : n->as.end.status;
    if (words && strlen(words) < sizeof unsent + 8)
        sim_die("a call that was never sent says no more: %s", n->error->text);
    if (ours && status == ENSIGN_GRPC_RESOURCE_EXHAUSTED && n->error->code != ENSIGN_E_MEMORY &&
        n->error->code != ENSIGN_E_RESET)
        sim_die("a call finds the server's answer too large: %s", n->error->text);
}

/* The words of a refusal come as they were said, and with its status. */
static void check_text(const slot_t *s, const ensign_notice_t *n)
{
    const flow_t *f = slot_flow(s, FLOW_ECHO);
    ensign_slice_t text = s->unary ? n->as.reply.text : n->as.end.text;
    bool theirs = s->unary ? n->as.reply.from_server : n->as.end.from_server;
    int status = s->unary ? n->as.reply.status : n->as.end.status;
    if (!f || f->opened_ms < s->opened_ms || !f->said[0]) return;
    if (!theirs && status == ENSIGN_GRPC_UNKNOWN)
        sim_die("the server said \"%s\", and the status is lost: %s", f->said, n->error->text);
    if (!theirs) return;
    if (text.len < strlen(f->said) || memcmp(text.ptr, f->said, strlen(f->said)) != 0)
        sim_die("the server said \"%s\", and the call has \"%.*s\"", f->said, (int)text.len,
                (const char *)text.ptr);
}

static void heard_call(slot_t *s, const ensign_notice_t *n)
{
    uint32_t number;
    if (n->type == ENSIGN_NOTICE_MESSAGE || n->type == ENSIGN_NOTICE_HEADERS) s->call->given = true;
    if (n->type == ENSIGN_NOTICE_END) attempts_ended(s->call, n->as.end.attempts, n->as.end.unprocessed);
    if (n->type == ENSIGN_NOTICE_REPLY)
        attempts_ended(s->call, n->as.reply.attempts, n->as.reply.unprocessed);
    if (n->type == ENSIGN_NOTICE_MESSAGE) {
        memcpy(&number, n->as.message.bytes.ptr, sizeof number);
        if (number != s->got++) sim_die("message %u of a call instead of %u", number, s->got - 1);
    }
    if (s->unary && n->type != ENSIGN_NOTICE_REPLY)
        sim_die("a unary call got %s", ensign_notice_name(n->type));
    if (n->type == ENSIGN_NOTICE_REPLY && !n->error) {
        if (n->as.reply.message.len != 8 || memcmp(n->as.reply.message.ptr + 4, "once", 4) != 0)
            sim_die("a unary call's reply is no echo");
        s->got++;
    }
    if (n->last && n->error) {
        check_reason(s, n);
        check_text(s, n);
    }
    if (n->type == ENSIGN_NOTICE_REPLY && (n->error == NULL) != (n->as.reply.status == ENSIGN_GRPC_OK))
        sim_die("REPLY with the status %d, and %s error", n->as.reply.status, n->error ? "an" : "no");
    if (n->type == ENSIGN_NOTICE_END && (n->error == NULL) != (n->as.end.status == ENSIGN_GRPC_OK))
        sim_die("END with the status %d, and %s error", n->as.end.status, n->error ? "an" : "no");
}

/* Does it end what WAITING has said? Answers and events can be of the time before that; a state cannot. */
static bool moves_again(const slot_t *s, ensign_notice_type_t type)
{
    if (type == ENSIGN_NOTICE_EVENT) return s->kind == SLOT_QUERY;
    return type == ENSIGN_NOTICE_OPEN || type == ENSIGN_NOTICE_HEALTH || type == ENSIGN_NOTICE_HEADERS ||
           type == ENSIGN_NOTICE_MESSAGE;
}

static void heard_waiting(const world_t *w, slot_t *s, const ensign_notice_t *n)
{
    if (!n->error) sim_die("WAITING without a reason");
    s->waited = true;
    s->retry_ms = n->as.waiting.retry_in_ms;
    s->tried_ms = w->now;
    s->tries = net.tries;
}

static void user_hears(world_t *w, const ensign_notice_t *n)
{
    slot_t *s = (slot_t *)n->user;
    if (n->error && !w->fault && strstr(n->error->text, "cannot go on"))
        sim_die("the model keeps to HTTP/2, and a session ends: %s", n->error->text);
    if (n->error && (n->error->code == 0 || n->error->text[0] == '\0'))
        sim_die("%s with an error that says nothing", ensign_notice_name(n->type));
    if (n->handle == ENSIGN_CLIENT) {
        if (n->type == ENSIGN_NOTICE_CONNECTED) {
            ensign_link_info_t info;
            connected = true;
            if (ensign_link_info(w->client, ENSIGN_LINK_RPC, &info) == ENSIGN_OK && info.resumed)
                TALLY(user, resumed);
        }
        if (n->type == ENSIGN_NOTICE_DISCONNECTED || n->type == ENSIGN_NOTICE_GOAWAY) connected = false;
        if (n->type == ENSIGN_NOTICE_CLOSED) client_closed = true;
        if (n->type == ENSIGN_NOTICE_FAILED) {
            client_failed = true;
            if (!model.auth_refused && !w->desc.give_up_after_ms)
                sim_die("FAILED, and nothing was final: %s", n->error->text);
        }
        return;
    }
    if (!s || s < slots || s >= slots + SLOTS || !s->open || s->id != n->handle)
        sim_die("%s of a handle that is not open", ensign_notice_name(n->type));
    if (s->held) sim_die("%s of a handle that is held", ensign_notice_name(n->type));
    switch (s->kind) {
    case SLOT_SUB: heard_subscription(w, s, n); break;
    case SLOT_QUERY: heard_query(s, n); break;
    case SLOT_REQ: heard_request(w, s, n); break;
    case SLOT_PUB: heard_publisher(w, s, n); break;
    case SLOT_CALL: heard_call(s, n); break;
    }
    if (n->type == ENSIGN_NOTICE_WAITING) heard_waiting(w, s, n);
    else progress(w, s);
    if (moves_again(s, n->type)) s->waited = false;
    if (n->last) slot_over(s);
}

/* Pulls one notice; false: none was there. */
static bool user_pull(world_t *w)
{
    const ensign_notice_t *n = ensign_next(w->client);
    dying = dying_more;
    dying_more = 0;
    if (!n) return false;
    if ((unsigned)n->type < TALLY_NOTICES) tally->notice[n->type]++;
    tell("notice %s, slot %d: %s", ensign_notice_name(n->type),
         n->handle == ENSIGN_CLIENT ? -1 : (int)((slot_t *)n->user)->number, n->error ? n->error->text : "");
    user_hears(w, n);
    return true;
}

static void user_pull_all(world_t *w)
{
    unsigned count = 0;
    while (user_pull(w)) {
        if (++count > 100000) sim_die("notices without end");
    }
}

#endif
