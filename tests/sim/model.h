/* model.h - the server of a run: topics, and what it stored; streams, answers, and how it misbehaves
 *
 * It remembers of each event that a program published what it was, and how often it came. */
#ifndef MODEL_H
#define MODEL_H

#include "attempts.h"
#include "log.h"

enum { PAGE = 2, PUBS_MOST = 64, QUEUE = 1024, OWNERS = 16 };
enum { PING_MIN_MS = 300000, PING_STRIKES = 2 };

/* ------------------------------------------------------------------ what was published */
typedef enum { BY_DEFAULT, BY_NAME, BY_ID, WAYS } way_t;

typedef struct event_t {
    uint8_t topic, way;
    uint8_t pairs;
    int32_t mime;
    uint32_t len;
    uint8_t acks, nacks;            /* notices that the program got */
    bool said_no;                   /* one of them said that it is not stored */
    unsigned stored;                /* so often */
    bool lied;                      /* an answer said that it is, before it came */
    bool refused;                   /* the server said no, so what is behind it may be stored before */
} event_t;

typedef struct publisher_t {        /* one that a program opened, also when it has ended */
    unsigned number;
    bool once, quiet, ensure, forgotten, ended;
    event_t *events;
    size_t count, cap;
    int64_t newest;                 /* of the events that were stored for the first time */
    uint64_t acked, nacked;         /* notices */
} publisher_t;

static publisher_t *published[PUBS_MOST];
static unsigned published_count;

/* The bytes of an event: who published it, its number, and a pattern. */
static uint8_t event_byte(unsigned pub, uint64_t tag, uint32_t i)
{
    if (i == 0) return (uint8_t)pub;
    if (i < 5) return (uint8_t)(tag >> (8 * (i - 1)));
    return (uint8_t)(i * 31 + (i >> 8) * 7 + tag * 13 + pub * 101);
}

/* ------------------------------------------------------------------ topics */
typedef struct topics_t {
    unsigned there, archived;       /* bits */
    uint8_t generation[TOPICS];     /* of the one that has this name: another id */
    unsigned changes;
} topics_t;

static topics_t topics;

static void topic_id_of(unsigned i, uint8_t generation, uint8_t id[16])
{
    memset(id, 0, 16);
    memcpy(id, "topic", 5);
    id[14] = generation;
    id[15] = (uint8_t)(i + 1);
}

static void topic_id(unsigned i, uint8_t id[16])
{
    topic_id_of(i, topics.generation[i], id);
}

static bool topic_there(unsigned i)
{
    return i < TOPICS && (topics.there & 1u << i) != 0;
}

static void topic_make(unsigned i)
{
    if (topic_there(i)) return;
    topics.there |= 1u << i;
    topics.archived &= ~(1u << i);
    topics.generation[i]++;
    topics.changes++;
    TALLY(server, topic_made);
}

static void topic_archive(unsigned i)
{
    if (!topic_there(i)) return;
    topics.archived |= 1u << i;
    TALLY(server, topic_archived);
}

static void topic_remove(unsigned i)
{
    if (!topic_there(i)) return;
    topics.there &= ~(1u << i);
    topics.changes++;
    log_destroy(i);
    TALLY(server, topic_removed);
}

/* ------------------------------------------------------------------ streams */
/* FLOW_ROWS: a query that the client asks by itself, for what a subscription has missed */
typedef enum {
    FLOW_PUBLISH, FLOW_SUBSCRIBE, FLOW_QUERY, FLOW_ROWS, FLOW_WATCH, FLOW_ECHO, FLOW_UNARY
} flow_kind_t;

typedef struct reply_t { uint8_t id[16]; uint32_t nack; } reply_t; /* nack: code + 1; 0: an ack */

typedef struct flow_t {
    stream_t *stream;
    flow_kind_t kind;
    bool mute;                      /* takes all, does nothing */
    bool tongue_tied;               /* does all, answers nothing */
    bool ready;
    unsigned topics;                /* bits: those it had when it was opened */
    uint8_t generation[TOPICS];
    size_t cursor[TOPICS];          /* of a subscription: the number of the entry to be looked at next */
    uint64_t behind[TOPICS];        /* the offset behind which it began */
    bool asked;                     /* it named places */
    unsigned topic;                 /* of rows: theirs, */
    size_t row, end;                /* the entry to be looked at next, and the one behind the last */
    uint64_t limit;                 /* so many of them are left to be sent */
    reply_t queue[QUEUE];
    size_t head, tail;              /* of those that wait: counts that may wrap */
    uint8_t last[16];               /* id of the last answer; with have_last */
    uint8_t newest[16];             /* id of the last event, and whose it is */
    publisher_t *publisher;
    bool have_last, have_newest;
    char said[32];                  /* the text of its refusal, or the beginning of it */
    uint64_t opened_ms;
    bool named;
    unsigned owner;                 /* the slot that the stream names; with named */
    uint32_t rows, sent;
    struct flow_t *next;
} flow_t;

typedef struct pings_t {            /* of the connection that a link has */
    const conn_t *conn;
    unsigned strikes;
    uint64_t last_ms;               /* of the last one; 0: none came */
} pings_t;

typedef struct model_t {
    flow_t *flows;                  /* newest first */
    bool calm;                      /* no new faults */
    bool peace;                     /* none in all of this run */
    uint32_t trouble;               /* one stream of so many meets a fault */
    bool auth_mute, auth_error, auth_refused;
    unsigned maintenance;           /* the gRPC or HTTP status that every stream is refused with; 0: none */
    struct { char text[520]; uint64_t expires_ms; } tokens[4];
    unsigned token_count;
    pings_t pings[ENSIGN_MAX_LINKS];
    bool goaway_pending[ENSIGN_MAX_LINKS]; /* the first step of a graceful stop was sent */
    unsigned creates[OWNERS];       /* CreateTopic that came, of each slot's request */
    unsigned rows_refused;          /* queries for what subscriptions have missed */
} model_t;

static model_t model;

static flow_t *flow_of(const stream_t *s)
{
    return (flow_t *)s->user;
}

static bool flow_lives(const flow_t *f)
{
    const stream_t *s = f->stream;
    return !s->closed && !s->done && !s->reset && s->conn->alive;
}

static flow_t *flow_new(stream_t *s)
{
    const char *path = peer_field(s, ":path");
    flow_t *f = (flow_t *)calloc(1, sizeof *f);
    if (!f) abort();
    net.tries++;
    f->stream = s;
    f->kind = FLOW_UNARY;
    if (strstr(path, "/Publish")) f->kind = FLOW_PUBLISH;
    else if (strstr(path, "/Subscribe")) f->kind = FLOW_SUBSCRIBE;
    else if (strstr(path, "/EnSQL")) f->kind = FLOW_QUERY;
    else if (strstr(path, "/Watch")) f->kind = FLOW_WATCH;
    else if (strstr(path, "/Echo")) f->kind = FLOW_ECHO;
    f->next = model.flows;
    model.flows = f;
    s->user = f;
    return f;
}

static void answer_ok(stream_t *s, bytes_t *reply)
{
    TALLY(server, answer);
    service_answer(s, reply);
}

/* ------------------------------------------------------------------ publish */
static void queue_reply(flow_t *f, const uint8_t id[16], uint32_t nack, bool overtakes)
{
    reply_t *r;
    if (f->tail - f->head >= QUEUE) sim_die("the model's queue of answers is full");
    if (overtakes && f->tail != f->head) {
        TALLY(server, ack_overtaken);
        r = &f->queue[--f->head % QUEUE];
    } else {
        r = &f->queue[f->tail++ % QUEUE];
    }
    memcpy(r->id, id, 16);
    r->nack = nack;
}

/* Is the event, as it came, the one that was published? */
static void check_event(const publisher_t *p, uint64_t tag, const event_t *x, ensign_slice_t event,
                        unsigned topic)
{
    ensign_slice_t data = { NULL, 0 };
    dec_t d = dec_begin(event);
    unsigned pairs = 0;
    uint32_t i;
    dec_field(event, 2, &data);
    if (topic != x->topic) sim_die("event %u.%llu came to topic %u instead of %u", p->number,
                                   (llu_t)tag, topic, x->topic);
    if (data.len != x->len) sim_die("event %u.%llu came with %zu bytes instead of %u", p->number,
                                    (llu_t)tag, data.len, x->len);
    for (i = 0; i < x->len; i++) {
        if (data.ptr[i] != event_byte(p->number, tag, i))
            sim_die("event %u.%llu differs at byte %u", p->number, (llu_t)tag, i);
    }
    while (dec_next(&d)) {
        ensign_slice_t value = { NULL, 0 };
        if (d.tag != 3) continue;
        dec_field(d.bytes, 2, &value);
        if (value.len != 1 || value.ptr[0] != 'a' + pairs)
            sim_die("event %u.%llu: pair %u of its metadata is another one", p->number,
                    (llu_t)tag, pairs);
        pairs++;
    }
    if (pairs != x->pairs || (int32_t)dec_uint(event, 4) != x->mime)
        sim_die("event %u.%llu came with other metadata or another MIME type", p->number,
                (llu_t)tag);
}

/* The event is stored; that which was stored for the first time comes in order. */
static void store(publisher_t *p, uint64_t tag, event_t *x)
{
    TALLY(server, stored);
    tell("event %u.%llu for topic %u is stored", p->number, (llu_t)tag, x->topic);
    if (x->stored++) {
        TALLY(server, stored_again);
        if (model.peace) sim_die("event %u.%llu is stored twice, though nothing went wrong", p->number,
                                 (llu_t)tag);
        if (p->once) sim_die("event %u.%llu of an at_most_once publisher is stored twice", p->number,
                             (llu_t)tag);
        return;
    }
    if (x->said_no) sim_die("event %u.%llu is stored, after its NACK said STORED_NO", p->number,
                            (llu_t)tag);
    if ((int64_t)tag <= p->newest && !x->refused)
        sim_die("event %u.%llu is stored behind event %lld", p->number,
                                           (llu_t)tag, (long long)p->newest);
    if ((int64_t)tag > p->newest) p->newest = (int64_t)tag;
}

static void hear_event(world_t *w, flow_t *f, ensign_slice_t wrapper)
{
    ensign_slice_t id, topic, event = { NULL, 0 }, data = { NULL, 0 };
    publisher_t *p;
    uint64_t tag = 0;
    unsigned i;
    uint32_t code = 0;
    if (!f->ready) sim_die("an event before ready");
    if (!dec_field(wrapper, 16, &id) || id.len != 16) sim_die("an event without a local_id of 16 bytes");
    if (!dec_field(wrapper, 2, &topic) || topic.len != 16) sim_die("an event without a topic_id of 16 bytes");
    dec_field(wrapper, 9, &event);
    dec_field(event, 2, &data);
    if (data.len < 5 || data.ptr[0] >= published_count) sim_die("an event that nobody published");
    p = published[data.ptr[0]];
    for (i = 0; i < 4; i++) tag |= (uint64_t)data.ptr[1 + i] << (8 * i);
    if (tag >= p->count) sim_die("event %u.%llu, which was never published", p->number,
                                 (llu_t)tag);
    i = service_topic_with_id(topic.ptr, TOPICS);
    check_event(p, tag, &p->events[tag], event, i);
    memcpy(f->newest, id.ptr, 16);
    f->have_newest = true;
    f->publisher = p;
    if (!(f->topics & 1u << i) || topic.ptr[14] != f->generation[i]) code = 1 + ENSIGN_NACK_TOPIC_UNKNOWN;
    else if (!topic_there(i) || topic.ptr[14] != topics.generation[i]) code = 1 + ENSIGN_NACK_TOPIC_DELETED;
    else if (topics.archived & 1u << i) code = 1 + ENSIGN_NACK_TOPIC_ARCHIVED;
    else if (!model.calm && world_below(w, 40) == 0) code = 1 + ENSIGN_NACK_INTERNAL;
    if (code == 0) {
        store(p, tag, &p->events[tag]);
    } else {
        p->events[tag].refused = true;
        tell("event %u.%llu for topic %u is refused, code %u", p->number, (llu_t)tag, i, code - 1);
    }
    queue_reply(f, id.ptr, code, code > 0 && world_below(w, 2) == 0);
}

/* For some of the topics, as bits. */
static void give_ready(flow_t *f, uint32_t tag, unsigned wanted)
{
    bytes_t entry = {0}, ready = {0}, reply = {0};
    unsigned i, there = topics.there & wanted;
    if (there == 0) {
        TALLY(server, no_topics);
        peer_refuse(f->stream, ENSIGN_GRPC_FAILED_PRECONDITION, "no topics available");
        return;
    }
    for (i = 0; i < TOPICS; i++) {
        uint8_t id[16];
        if (!(there & 1u << i)) continue;
        topic_id(i, id);
        enc_text(&entry, 1, service_topic_name(i));
        enc_bytes(&entry, 2, id, 16);
        enc_message(&ready, 3, &entry);
    }
    f->topics = there;
    memcpy(f->generation, topics.generation, sizeof f->generation);
    f->ready = true;
    TALLY(server, ready);
    enc_message(&reply, tag, &ready);
    peer_send(f->stream, &reply);
}

static void hear_publish(world_t *w, flow_t *f, ensign_slice_t m)
{
    ensign_slice_t x;
    if (dec_field(m, 2, &x)) {
        if (f->ready) sim_die("a second open_stream on one stream");
        give_ready(f, 3, UINT32_MAX);
    } else if (dec_field(m, 1, &x)) {
        hear_event(w, f, x);
    } else {
        sim_die("a publisher's message that is neither an event nor open_stream");
    }
}

static void say_reply(flow_t *f, const reply_t *r)
{
    char words[64];
    if (r->nack == 0) {
        TALLY(server, ack);
        service_ack(f->stream, r->id, 16, 1);
    } else {
        if (r->nack == 1 + ENSIGN_NACK_TOPIC_UNKNOWN) TALLY(server, nack_unknown_topic);
        else if (r->nack == 1 + ENSIGN_NACK_TOPIC_ARCHIVED) TALLY(server, nack_archived);
        else TALLY(server, nack_other);
        snprintf(words, sizeof words, "the model says no to event %llu.",
                 (llu_t)be64_get(r->id + 8));
        service_nack(f->stream, r->id, 16, r->nack - 1, words);
    }
}

/* An answer that no server should give. The first kind is harmless; the others end the stream. */
static void say_nonsense(world_t *w, flow_t *f)
{
    uint8_t id[16];
    uint32_t what = world_below(w, 8);
    if (what < 5) {
        if (!f->have_last) return;
        TALLY(server, ack_twice);
        service_ack(f->stream, f->last, 16, 2);
    } else if (what == 5) {
        size_t i;
        TALLY(server, ack_foreign);
        for (i = 0; i < sizeof id; i++) id[i] = (uint8_t)world_below(w, 256);
        service_ack(f->stream, id, 16 - world_below(w, 2), 2);
    } else if (f->have_newest) {
        uint64_t tag = be64_get(f->newest + 8) + 1 + world_below(w, 3);
        if (tag >= f->publisher->count) return;
        TALLY(server, ack_future);
        memcpy(id, f->newest, 16);
        be64_put(id + 8, tag);
        f->publisher->events[tag].lied = true; /* it may be on its way, so that this is an answer */
        service_ack(f->stream, id, 16, 2);
    }
}

/* Some of the answers that a stream owes. */
static bool answer_some(world_t *w, flow_t *f, bool all)
{
    bool did = false;
    if (f->kind != FLOW_PUBLISH || !flow_lives(f) || f->tongue_tied) return false;
    while (f->head != f->tail && (all || world_below(w, 5) != 0)) {
        const reply_t *r = &f->queue[f->head++ % QUEUE];
        say_reply(f, r);
        memcpy(f->last, r->id, 16);
        f->have_last = did = true;
    }
    if (f->head != f->tail) TALLY(server, ack_late);
    if (!model.calm && world_below(w, 40) == 0) say_nonsense(w, f);
    return did;
}

/* ------------------------------------------------------------------ requests */
static void answer_page(stream_t *s, ensign_slice_t m)
{
    const service_list_t list = { topics.there, TOPICS, PAGE, service_topic_name, topic_id };
    TALLY(server, answer);
    service_page(s, m, &list);
}

/* A program's own CreateTopic has the slot's name for a key of its policy. Where the first one came, the
 * server may have acted, and the client must not send it again. */
static void judge_create(ensign_slice_t m)
{
    ensign_slice_t policy, key;
    unsigned slot;
    if (!dec_field(m, 11, &policy) || !dec_field(policy, 3, &key)) return;
    slot = key.ptr[1] - (unsigned)'0';
    if (++model.creates[slot] > 1)
        sim_die("the CreateTopic of slot %u is sent again, though the server has acted on it", slot);
}

static void answer_create(stream_t *s, ensign_slice_t m)
{
    bytes_t reply = {0};
    ensign_slice_t name = { NULL, 0 };
    uint8_t id[16];
    unsigned i;
    dec_field(m, 3, &name);
    i = service_topic_named(name, TOPICS);
    if (i == TOPICS) sim_die("CreateTopic for a topic that nobody asked for");
    judge_create(m);
    if (topic_there(i)) {
        peer_refuse(s, ENSIGN_GRPC_ALREADY_EXISTS, "there");
        return;
    }
    topic_make(i);
    topic_id(i, id);
    service_topic(&reply, 0, service_topic_name(i), id);
    answer_ok(s, &reply);
}

static void answer_exists(stream_t *s, ensign_slice_t m)
{
    bytes_t reply = {0};
    ensign_slice_t f;
    unsigned i = TOPICS;
    ensign_ulid_t u;
    bool there;
    memset(&u, 0, sizeof u);
    if (dec_field(m, 3, &f)) i = service_topic_named(f, TOPICS);
    else if (dec_field(m, 1, &f) && ensign_ulid_parse(f, &u) == ENSIGN_OK)
        i = service_topic_with_id(u.b, TOPICS);
    there = topic_there(i) && (u.b[15] == 0 || u.b[14] == topics.generation[i]);
    enc_text(&reply, 1, "looked");
    if (there) enc_uint(&reply, 2, 1);
    answer_ok(s, &reply);
}

static void answer_unary(world_t *w, flow_t *f, ensign_slice_t m)
{
    stream_t *s = f->stream;
    const char *path = peer_field(s, ":path");
    bytes_t reply = {0};
    (void)w;
    if (strstr(path, "/CreateTopic")) {
        answer_create(s, m);
    } else if (strstr(path, "/TopicExists")) {
        answer_exists(s, m);
    } else if (strstr(path, "/ListTopics")) {
        answer_page(s, m);
    } else {
        enc_uint(&reply, 1, 1);
        enc_text(&reply, 2, "sim");
        answer_ok(s, &reply);
    }
}

/* ------------------------------------------------------------------ subscriptions, queries, watches */
/* Notes which slot a stream is of: a text such as "s3" in its first message. */
static void hear_name(flow_t *f, ensign_slice_t m)
{
    ensign_slice_t x = { NULL, 0 }, y;
    bool found = false;
    if (f->named || f->kind == FLOW_PUBLISH || f->kind == FLOW_ECHO || f->kind == FLOW_UNARY) return;
    if (f->kind == FLOW_SUBSCRIBE) found = dec_field(m, 3, &x) && dec_field(x, 3, &y) && dec_field(y, 1, &x);
    else found = dec_field(m, 1, &x);
    if (f->kind == FLOW_QUERY && found && x.len > 6 && memcmp(x.ptr, "SELECT", 6) == 0) {
        f->kind = FLOW_ROWS;
        return;
    }
    if (!found || x.len != 2)
        sim_die("the first message of %s names no slot", peer_field(f->stream, ":path"));
    f->owner = x.ptr[1] - (unsigned)'0';
    f->named = true;
}

/* Where a subscription begins: behind the places that it names, and else behind the log's end. */
static void hear_places(flow_t *f, ensign_slice_t sub)
{
    ensign_slice_t group = text_slice(""), name;
    dec_t d;
    for (unsigned i = 0; i < TOPICS; i++) f->behind[i] = events.last;
    if (!events.places) return;
    dec_field(sub, 4, &group);
    for (d = dec_begin(group); dec_next(&d);) {
        uint64_t behind = dec_uint(d.bytes, 2);
        if (d.tag != 12 || !dec_field(d.bytes, 1, &name))
            sim_die("a group that is none has more than places");
        f->asked = true;
        if (service_topic_named(name, TOPICS) == TOPICS) sim_die("a place of a topic that never was");
        if (behind < events.last) f->behind[service_topic_named(name, TOPICS)] = behind;
    }
    if (f->asked) TALLY(server, places_asked);
}

static void hear_subscription(flow_t *f, ensign_slice_t m)
{
    ensign_slice_t sub;
    unsigned wanted = 0;
    char header[48];
    dec_t d;
    if (!dec_field(m, 3, &sub)) sim_die("a stream of events that is no subscription");
    for (d = dec_begin(sub); dec_next(&d);)
        if (d.tag == 2) wanted |= 1u << service_topic_named(d.bytes, TOPICS);
    if (wanted == 0) wanted = UINT32_MAX;
    if (!(topics.there & wanted)) {
        TALLY(server, no_topics);
        peer_refuse(f->stream, ENSIGN_GRPC_FAILED_PRECONDITION, "no topics available");
        return;
    }
    hear_places(f, sub);
    snprintf(header, sizeof header, "%llu %llu", (llu_t)events.epoch, (llu_t)events.last);
    if (events.places && !f->stream->started)
        peer_headers(f->stream, "200", "content-type", "application/grpc", "ensign-place", header, NULL);
    give_ready(f, 2, wanted);
}

static bool flow_has(const flow_t *f, const entry_t *e, unsigned topic)
{
    return e->topic == topic && e->generation == f->generation[topic] && !e->gone &&
           e->offset > f->behind[topic];
}

/* "SELECT * FROM topic OFFSET n", maybe with " LIMIT m": of what the topic has now. */
static void hear_rows(flow_t *f, ensign_slice_t m)
{
    char text[80], name[20], tail[20] = "";
    ensign_slice_t sql = { NULL, 0 };
    unsigned long long offset = 0, limit = UINT64_MAX;
    dec_field(m, 1, &sql);
    snprintf(text, sizeof text, "%.*s", (int)sql.len, (const char *)sql.ptr);
    if (sscanf(text, "SELECT * FROM %19s OFFSET %llu%19[^\n]", name, &offset, tail) < 2 ||
        (tail[0] && sscanf(tail, " LIMIT %llu", &limit) != 1))
        sim_die("a query that no subscription asks: %s", text);
    tell("%s", text);
    TALLY(server, rows_asked);
    f->topic = service_topic_named(text_slice(name), TOPICS);
    if (!topic_there(f->topic)) {
        model.rows_refused++;
        peer_refuse(f->stream, ENSIGN_GRPC_INVALID_ARGUMENT, "unknown topic in query");
        return;
    }
    f->ready = true;
    f->limit = limit;
    f->end = events.count;
    for (f->row = 0; f->row < f->end && offset > 0; f->row++)
        offset -= events.entry[f->row].topic == f->topic && !events.entry[f->row].gone;
}

static void deliver_rows(world_t *w, flow_t *f)
{
    for (uint32_t n = 1 + world_below(w, 20); n > 0; f->row++) {
        uint8_t id[16];
        while (f->row < f->end && (events.entry[f->row].topic != f->topic || events.entry[f->row].gone))
            f->row++;
        if (f->row >= f->end || f->limit == 0) {
            peer_finish(f->stream, 0, NULL, NULL);
            return;
        }
        topic_id_of(f->topic, events.entry[f->row].generation, id);
        log_send(f->stream, f->row, id, true);
        f->limit--;
        n--;
    }
}

/* Without places all topics have one order: the topic whose turn it is comes first. */
static unsigned next_topic(const flow_t *f)
{
    unsigned topic = 0;
    size_t at = SIZE_MAX;
    for (unsigned i = 0; i < TOPICS; i++) {
        size_t k = f->cursor[i];
        if (!(f->topics & 1u << i)) continue;
        while (k < events.count && !flow_has(f, &events.entry[k], i)) k++;
        if (k >= events.count || k >= at) continue;
        at = k;
        topic = i;
    }
    return topic;
}

/* The next event of some topic. Where there are places each topic is read on its own: their order is another
 * one each time. */
static void deliver_event(world_t *w, flow_t *f)
{
    unsigned first = events.places ? world_below(w, TOPICS) : next_topic(f);
    for (unsigned k = 0; k < TOPICS; k++) {
        unsigned topic = (first + k) % TOPICS;
        size_t *at = &f->cursor[topic];
        uint8_t id[16];
        if (!(f->topics & 1u << topic)) continue;
        while (*at < events.count && !flow_has(f, &events.entry[*at], topic)) ++*at;
        if (*at == events.count) continue;
        TALLY(server, event);
        topic_id_of(topic, f->generation[topic], id);
        log_send(f->stream, *at, id, false);
        if (f->asked && world_below(w, 10) == 0) {
            TALLY(server, event_again);
            log_send(f->stream, *at, id, false);
        }
        ++*at;
        return;
    }
}

/* Events that somebody publishes. */
static void model_append(world_t *w)
{
    for (unsigned n = world_below(w, 6); n > 0; n--) {
        unsigned i = world_below(w, 2) ? 0 : world_below(w, TOPICS);
        if (topic_there(i) && !(topics.archived & 1u << i)) log_append(w, i, topics.generation[i]);
    }
}

static void deliver_row(world_t *w, flow_t *f)
{
    static const uint8_t fill[1200];
    uint8_t id[16], number[4];
    bytes_t event = {0}, row = {0}, data = {0};
    if (f->sent == f->rows) {
        peer_finish(f->stream, 0, NULL, NULL);
        return;
    }
    TALLY(server, row);
    memcpy(number, &f->sent, sizeof number);
    f->sent++;
    bytes_add(&data, number, sizeof number);
    bytes_add(&data, fill, world_below(w, world_below(w, 4) ? 60 : sizeof fill));
    topic_id(0, id);
    enc_bytes(&event, 2, data.p, data.len);
    bytes_free(&data);
    enc_bytes(&row, 1, id, 10);
    enc_bytes(&row, 2, id, 16);
    enc_message(&row, 9, &event);
    peer_send(f->stream, &row);
}

static void deliver_health(world_t *w, flow_t *f)
{
    bytes_t reply = {0};
    TALLY(server, health);
    enc_uint(&reply, 1, 1 + world_below(w, 3));
    peer_send(f->stream, &reply);
}

static void deliver(world_t *w, flow_t *f)
{
    if (!flow_lives(f) || !f->ready || f->mute || f->tongue_tied || world_below(w, 2)) return;
    if (f->stream->out.len - f->stream->out_at > 20000) return; /* the reader is slow */
    if (f->kind == FLOW_QUERY) deliver_row(w, f);
    else if (f->kind == FLOW_WATCH) deliver_health(w, f);
    else if (f->kind == FLOW_SUBSCRIBE)
        for (uint32_t n = 1 + world_below(w, 8); n > 0; n--) deliver_event(w, f);
}

static void model_deliver(world_t *w)
{
    flow_t *f;
    model_append(w);
    for (f = model.flows; f; f = f->next) deliver(w, f);
}

static bool model_answer(world_t *w, bool all)
{
    bool did = false;
    flow_t *f;
    for (f = model.flows; f; f = f->next) did |= answer_some(w, f, all);
    return did;
}

/* Rows of what was missed, as far as they are read. */
static bool model_rows(world_t *w)
{
    bool did = false;
    for (flow_t *f = model.flows; f; f = f->next) {
        if (f->kind != FLOW_ROWS || !flow_lives(f) || !f->ready || f->mute || f->tongue_tied) continue;
        if (f->stream->out.len - f->stream->out_at > 20000 || (!model.calm && world_below(w, 3))) continue;
        deliver_rows(w, f);
        did = true;
    }
    return did;
}

/* ------------------------------------------------------------------ how a stream begins */
static bool token_good(world_t *w, const char *header)
{
    unsigned i;
    for (i = 0; i < COUNT(model.tokens) && i < model.token_count; i++) {
        if (strcmp(header, model.tokens[i].text) == 0) return w->now < model.tokens[i].expires_ms;
    }
    return false;
}

/* The text of a refusal: plain, with a blank at its ends, or long; each may travel. */
static const char *refusal_text(world_t *w)
{
    static char text[60000];
    uint32_t what = world_below(w, 8), len;
    if (what == 0) {
        TALLY(fault, blanks_in_text);
        return " the model refuses ";
    }
    if (what != 1) return "the model refuses";
    TALLY(fault, long_text);
    len = 1000 + world_below(w, (uint32_t)sizeof text - 1001);
    memset(text, 'x', len);
    text[len] = '\0';
    return text;
}

static void refuse_status(world_t *w, flow_t *f)
{
    const char *text = refusal_text(w);
    unsigned status = 1 + world_below(w, TALLY_STATUSES - 1);
    bool final = status == ENSIGN_GRPC_PERMISSION_DENIED || status == ENSIGN_GRPC_UNIMPLEMENTED ||
                 status == ENSIGN_GRPC_NOT_FOUND || status == ENSIGN_GRPC_INVALID_ARGUMENT ||
                 status == ENSIGN_GRPC_FAILED_PRECONDITION;
    if (final && world_below(w, 3)) status = ENSIGN_GRPC_UNAVAILABLE; /* else few streams live long */
    TALLY(fault, refuse_status);
    tally->status[status]++;
    snprintf(f->said, sizeof f->said, "%.31s", text);
    attempts_refuse(w, f->stream, (int)status, text);
}

static void refuse_http(world_t *w, stream_t *s)
{
    unsigned i = world_below(w, TALLY_HTTP);
    char status[8];
    TALLY(fault, refuse_http);
    tally->http[i]++;
    snprintf(status, sizeof status, "%d", tally_http[i]);
    peer_only(s, status, "content-type", "text/html", NULL);
}

static void reset_stream(world_t *w, stream_t *s)
{
    uint32_t code = world_below(w, TALLY_RESETS);
    TALLY(fault, reset);
    tally->reset[code]++;
    if (attempts_of(s)) attempts_of(s)->refused_stream = code == NGHTTP2_REFUSED_STREAM;
    peer_reset(s, code);
}

static void meet_trouble(world_t *w, flow_t *f)
{
    if (f->kind == FLOW_QUERY) model.rows_refused++;
    switch (world_below(w, 8)) {
    case 0:
    case 1: refuse_status(w, f); break;
    case 2: refuse_http(w, f->stream); break;
    case 3: reset_stream(w, f->stream); break;
    case 4:
    case 5:
        TALLY(fault, mute_stream);
        f->mute = true;
        break;
    default:
        if (f->kind != FLOW_PUBLISH) break;
        TALLY(fault, stores_and_mute);
        f->tongue_tied = true;
        break;
    }
}

/* In maintenance, or behind a proxy that has lost its server. */
static void refuse_all(world_t *w, stream_t *s)
{
    char status[16];
    snprintf(status, sizeof status, "%u", model.maintenance);
    if (model.maintenance < TALLY_STATUSES) attempts_refuse(w, s, (int)model.maintenance, "in maintenance");
    else peer_only(s, status, "content-type", "text/html", NULL);
}

static void model_headers(world_t *w, stream_t *s)
{
    flow_t *f = flow_new(s);
    const char *token = peer_field(s, "authorization"), *name = peer_field(s, "x-slot");
    tell("stream %d of connection %u.%d: %s", (int)s->id, s->conn->number, s->conn->link,
         peer_field(s, ":path"));
    f->opened_ms = w->now;
    attempts_stream(w, s);
    if (name) {
        f->owner = (unsigned char)name[1] - (unsigned)'0';
        f->named = true;
    }
    if (token && !token_good(w, token)) {
        TALLY(server, expired_token);
        attempts_refuse(w, s, ENSIGN_GRPC_UNAUTHENTICATED, "invalid credentials");
        return;
    }
    if (model.maintenance && f->kind == FLOW_QUERY) model.rows_refused++; /* it may be one of these */
    if (model.maintenance) refuse_all(w, s);
    else if (!model.calm && world_below(w, model.trouble) == 0) meet_trouble(w, f);
}

/* The messages of each attempt are there from the first. */
static void hear_echo(flow_t *f, ensign_slice_t m)
{
    uint32_t number;
    memcpy(&number, m.ptr, sizeof number);
    if (number != f->sent++)
        sim_die("an attempt of a call brings message %u instead of %u", number, f->sent - 1);
    if (attempts_of(f->stream)) attempts_of(f->stream)->acted = true;
}

static void model_message(world_t *w, stream_t *s, ensign_slice_t m)
{
    flow_t *f = flow_of(s);
    if (m.ptr[-5] != 0) sim_die("a message whose flag is %d", m.ptr[-5]);
    hear_name(f, m);
    if (s->done || f->mute) return;
    switch (f->kind) {
    case FLOW_PUBLISH: hear_publish(w, f, m); break;
    case FLOW_SUBSCRIBE:
        if (!f->ready) hear_subscription(f, m);
        break;
    case FLOW_QUERY:
        f->rows = world_below(w, 30);
        f->ready = true;
        break;
    case FLOW_ROWS: hear_rows(f, m); break;
    case FLOW_WATCH:
        f->ready = true;
        deliver_health(w, f);
        break;
    case FLOW_ECHO:
        TALLY(server, echo);
        hear_echo(f, m);
        peer_message(s, m.ptr, m.len);
        if (world_below(w, 3) == 0) s->pad = world_below(w, 100);
        break;
    default: answer_unary(w, f, m); break;
    }
}

static void model_half(world_t *w, stream_t *s)
{
    flow_t *f = flow_of(s);
    (void)w;
    if (s->done || f->mute) return;
    if (f->kind == FLOW_PUBLISH) {
        TALLY(server, close_stream);
        service_close(s);
    } else if (f->kind == FLOW_ECHO) {
        calls_ok++;
        peer_finish(s, 0, NULL, "x-end", "1", NULL);
    }
}

/* ------------------------------------------------------------------ the auth service */
static void model_grant(world_t *w)
{
    unsigned at = model.token_count++ % COUNT(model.tokens);
    auth_grant(w);
    snprintf(model.tokens[at].text, sizeof model.tokens[at].text, "Bearer %s", w->access);
    model.tokens[at].expires_ms = w->now - w->now % 1000 + (uint64_t)w->access_s * 1000;
}

static bool model_auth(world_t *w)
{
    static const int errors[] = { 401, 429, 500, 503 };
    int status = errors[world_below(w, COUNT(errors))];
    if (!auth_serve(w)) return false;
    net.tries++;
    if (model.auth_mute) {
        TALLY(fault, auth_mute);
    } else if (model.auth_error) {
        TALLY(fault, auth_error);
        if (world_below(w, 60) == 0) {
            TALLY(fault, auth_refuses);
            status = 403; /* for good */
            model.auth_refused = true;
        }
        auth_answer(w, status, "{\"success\":false,\"error\":\"the model\"}");
    } else {
        model_grant(w);
    }
    return true;
}

/* ------------------------------------------------------------------ what a server takes amiss */
static void judge_streams(const world_t *w)
{
    const flow_t *f;
    for (f = model.flows; f; f = f->next) {
        uint32_t code = f->stream->reset_code;
        if (!f->stream->reset || w->fault) continue;
        if (code == NGHTTP2_PROTOCOL_ERROR || code == NGHTTP2_INTERNAL_ERROR)
            sim_die("the client resets a stream that has no fault, with the code %u", code);
    }
}

/* A gRPC server counts a strike for a PING within 5 minutes of the one before, and for one without an open
 * stream; what it sends itself clears them, and the third ends the connection. */
static void judge_ping(conn_t *c)
{
    const world_t *w = (const world_t *)c->owner;
    pings_t *p = &model.pings[c->link];
    bool open = false;
    size_t i;
    TALLY(server, ping);
    if (p->conn != c) memset(p, 0, sizeof *p);
    p->conn = c;
    for (i = 0; i < w->stream_count; i++) {
        const stream_t *s = w->streams[i];
        open |= s->conn == c && !s->closed && !s->reset && !s->done;
    }
    if (c->answered) p->strikes = 0;
    if (!open || (p->last_ms && w->now - p->last_ms < PING_MIN_MS)) p->strikes++;
    if (p->strikes > PING_STRIKES) sim_die("%u PINGs that a gRPC server counts as strikes", p->strikes);
    p->last_ms = w->now;
    c->answered = false;
}

/* A server that behaves answers at once. */
static bool model_serve(world_t *w)
{
    bool did = model_auth(w);
    judge_streams(w);
    if (world_serve(w)) did = true;
    if (model.calm && model_answer(w, true)) did = true;
    if (model_rows(w)) did = true;
    return did;
}

static void model_begin(world_t *w)
{
    memset(&model, 0, sizeof model);
    memset(&topics, 0, sizeof topics);
    memset(&net, 0, sizeof net);
    attempts_begin();
    log_begin(w);
    published_count = 0;
    w->on_headers = model_headers;
    w->on_message = model_message;
    w->on_half = model_half;
    w->on_ping = judge_ping;
    w->auth_manual = true;
    model.trouble = 4 + world_below(w, 20);
}

static void model_end(void)
{
    unsigned i;
    while (model.flows) {
        flow_t *f = model.flows;
        model.flows = f->next;
        free(f);
    }
    for (i = 0; i < published_count; i++) {
        free(published[i]->events);
        free(published[i]);
    }
    published_count = 0;
}

#endif
