/* Everything at once, at random: publishers, subscriptions, queries, requests and calls against a server that
   resets, refuses, says nothing, stops and is cut off, and where topics appear. Whatever happens: each event
   ends once, and goes to the topic that was meant; none is refused for a topic that was there; each request
   has one answer, which was true while it was asked; each handle ENDs once; messages, rows and events come in
   order; nothing stalls and nothing leaks. */
#include "service.h"

enum {
    PUBS = 3, SUBS = 2, CALLS = 6, QUERIES = 2, REQS = 4, TAGS = 3000, STEPS = 6000,
    TOPICS = 12, PAGE = 3,
    UNKNOWN_MS = 2000               /* so long what the server said of a topic that was not there may count */
};

/* How an event names its topic. */
typedef enum { BY_DEFAULT, BY_NAME, BY_ID, WAYS } way_t;
typedef struct put_t {
    uint8_t way, topic;
    bool there;                     /* the topic was, and the client can know it */
    unsigned troubles;              /* by then */
} put_t;

typedef struct pub_t {
    ensign_publisher_t h;
    bool open, ensure, excused;
    uint64_t put;
    uint8_t answers[TAGS];
    put_t puts[TAGS];
} pub_t;
typedef struct sub_t { ensign_subscription_t h; bool open, held; uint64_t last; } sub_t;
typedef struct rpc_t {
    ensign_call_t h;
    bool open, unary, half, stopped, after_stop;
    uint32_t sent, got;
} rpc_t;

typedef struct query_t {
    ensign_query_t h;
    bool open, held;
    stream_t *stream;               /* what the server answers it on */
    uint32_t rows, sent, got;
} query_t;
typedef enum { CREATE, ENSURE, FIND, EXISTS, LIST, STATUS, WATCH } kind_t;
typedef struct req_t {
    ensign_request_t h;
    bool open, held;
    kind_t kind;
    unsigned topic, before, seen;   /* bits of topics: those there when it was opened; given by a list */
    uint64_t count;
} req_t;

static pub_t pubs[PUBS];
static query_t queries[QUERIES];
static req_t reqs[REQS];
static sub_t subs[SUBS];
static rpc_t rpcs[CALLS];
static uint64_t delivered;          /* the number of the last event, over all streams */
static uint32_t ends, answered, rows, told;
static size_t next_answer;
static bool calm;                   /* the server behaves */
static bool closing;                /* the client does: queries end with the rows that are here */
static unsigned troubles;           /* how often it did not */
static unsigned there;              /* bits of the topics that there are */
static uint64_t lacked[TOPICS];     /* when the server last said that there is no such topic */

/* ------------------------------------------------------------------ topics */
static void topic_id(unsigned i, uint8_t id[16])
{
    memset(id, 0, 16);
    memcpy(id, "topic", 5);
    id[15] = (uint8_t)(i + 1);
}

/* ------------------------------------------------------------------ the server */
/* StreamReady with the topics that there are; they are fixed for this stream. Without any there is none. */
static void ready(world_t *w, stream_t *s, uint32_t tag)
{
    bytes_t entry = {0}, ready = {0}, reply = {0};
    if (there == 0) {
        for (unsigned i = 0; i < TOPICS; i++) lacked[i] = w->now;
        peer_refuse(s, ENSIGN_GRPC_FAILED_PRECONDITION, "no topics available");
        return;
    }
    for (unsigned i = 0; i < TOPICS; i++) {
        uint8_t id[16];
        if (!(there & 1u << i)) continue;
        topic_id(i, id);
        enc_text(&entry, 1, service_topic_name(i));
        enc_bytes(&entry, 2, id, 16);
        enc_message(&ready, 3, &entry);
    }
    enc_message(&reply, tag, &ready);
    s->user = (void *)(uintptr_t)there;
    peer_send(s, &reply);
}

static bool stream_has(const stream_t *s, unsigned i)
{
    return i < TOPICS && (uintptr_t)s->user & 1u << i;
}

static void hear_publish(world_t *w, stream_t *s, ensign_slice_t m)
{
    ensign_slice_t f;
    heard_t *h;
    if (dec_field(m, 2, &f)) {
        if (s->stage) world_fail(w, "a second open_stream on one stream");
        s->stage = 1;
        ready(w, s, 3);
        return;
    }
    if (!dec_field(m, 1, &f)) world_fail(w, "neither an event nor open_stream");
    service_hear(w, s, f);
    h = &service.events[service.count - 1];
    f = heard_data(h);
    assert_true(f.len >= 2);
    if (service_topic_with_id(h->topic, TOPICS) != f.ptr[1])
        world_fail(w, "an event for topic %d to another one", f.ptr[1]);
    if (f.ptr[0] != BY_ID && !stream_has(s, f.ptr[1]))
        world_fail(w, "an event for topic %d, which this stream does not have", f.ptr[1]);
}

static void answer_page(stream_t *s, ensign_slice_t m)
{
    const service_list_t list = { there, TOPICS, PAGE, service_topic_name, topic_id };
    service_page(s, m, &list);
}

static void answer_create(stream_t *s, ensign_slice_t m)
{
    bytes_t reply = {0};
    ensign_slice_t name = { NULL, 0 };
    uint8_t id[16];
    unsigned i;
    dec_field(m, 3, &name);
    i = service_topic_named(name, TOPICS);
    assert_true(i < TOPICS);
    if (there & 1u << i) {
        peer_refuse(s, ENSIGN_GRPC_ALREADY_EXISTS, "there");
        return;
    }
    there |= 1u << i;
    topic_id(i, id);
    service_topic(&reply, 0, service_topic_name(i), id);
    service_answer(s, &reply);
}

static void answer_exists(world_t *w, stream_t *s, ensign_slice_t m)
{
    bytes_t reply = {0};
    ensign_slice_t f;
    unsigned i = TOPICS;
    ensign_ulid_t u;
    if (dec_field(m, 3, &f)) i = service_topic_named(f, TOPICS);
    else if (dec_field(m, 1, &f) && ensign_ulid_parse(f, &u) == ENSIGN_OK)
        i = service_topic_with_id(u.b, TOPICS);
    assert_true(i < TOPICS);
    enc_text(&reply, 1, "looked");
    if (there & 1u << i) enc_uint(&reply, 2, 1);
    else lacked[i] = w->now;
    service_answer(s, &reply);
}

/* So many rows follow; the text names the query. */
static void begin_query(world_t *w, stream_t *s, ensign_slice_t m)
{
    ensign_slice_t f;
    query_t *q;
    assert_true(dec_field(m, 1, &f) && f.len > 0);
    q = &queries[f.ptr[f.len - 1] - '0'];
    q->rows = world_below(w, 40);
    q->sent = 0;
    q->stream = s;
    s->user = q;
    s->stage = 3;
}

static void on_message(world_t *w, stream_t *s, ensign_slice_t m)
{
    const char *path = peer_field(s, ":path");
    if (s->done) return;
    if (strstr(path, "/Publish")) {
        hear_publish(w, s, m);
    } else if (strstr(path, "/Subscribe")) {
        if (s->stage == 0) ready(w, s, 2);
        s->stage = 2;
    } else if (strstr(path, "/EnSQL")) {
        begin_query(w, s, m);
    } else if (strstr(path, "/Watch")) {
        s->stage = 4;
    } else if (strstr(path, "/Echo")) {
        peer_message(s, m.ptr, m.len);
        if (world_below(w, 3) == 0) s->pad = world_below(w, 100);
    } else if (!calm && world_below(w, 10) == 0) {
        troubles++; /* no answer at all */
    } else if (strstr(path, "/CreateTopic")) {
        answer_create(s, m);
    } else if (strstr(path, "/TopicExists")) {
        answer_exists(w, s, m);
    } else if (strstr(path, "/ListTopics")) {
        answer_page(s, m);
    } else {
        bytes_t reply = {0};
        enc_text(&reply, 2, "chaos");
        service_answer(s, &reply);
    }
}

static void on_half(world_t *w, stream_t *s)
{
    const char *path = peer_field(s, ":path");
    (void)w;
    if (s->done) return;
    if (strstr(path, "/Publish")) service_close(s);
    else if (strstr(path, "/Echo")) peer_finish(s, 0, NULL, "x-end", "1", NULL);
}

static void answer_some(world_t *w)
{
    for (; next_answer < service.count; next_answer++) {
        heard_t *h = &service.events[next_answer];
        if (!calm && world_below(w, 4) == 0) return;
        if (h->stream->closed || h->stream->done) continue;
        if (!stream_has(h->stream, service_topic_with_id(h->topic, TOPICS)))
            service_nack(h->stream, h->id, 16, ENSIGN_NACK_TOPIC_UNKNOWN, "");
        else if (world_below(w, 10) == 0) service_nack(h->stream, h->id, 16, 9, "no");
        else service_ack(h->stream, h->id, 16, 1);
    }
}

/* The next row of a query, or its end. */
static void deliver_row(world_t *w, stream_t *s)
{
    static uint8_t data[1500], id[16];
    query_t *q = (query_t *)s->user;
    bytes_t event = {0}, row = {0};
    if (q->stream != s) return;
    if (q->sent == q->rows) {
        peer_finish(s, 0, NULL, NULL);
        return;
    }
    memcpy(data, &q->sent, sizeof q->sent);
    q->sent++;
    topic_id(0, id);
    enc_bytes(&event, 2, data, 4 + world_below(w, world_below(w, 4) ? 60 : sizeof data - 4));
    enc_bytes(&row, 1, id, 10);
    enc_bytes(&row, 2, id, 16);
    enc_message(&row, 9, &event);
    peer_send(s, &row);
}

static void deliver_health(world_t *w, stream_t *s)
{
    bytes_t reply = {0};
    enc_uint(&reply, 1, 1 + world_below(w, 3));
    peer_send(s, &reply);
}

static void deliver_some(world_t *w)
{
    static char data[3000];
    size_t i;
    for (i = 0; i < w->stream_count; i++) {
        stream_t *s = w->streams[i];
        if (s->stage < 2 || s->closed || s->done || world_below(w, 2)) continue;
        if (s->stage == 3) deliver_row(w, s);
        else if (s->stage == 4) deliver_health(w, s);
        else service_deliver(s, ++delivered, data, world_below(w, world_below(w, 5) ? 50 : sizeof data));
    }
}

static stream_t *some_stream(world_t *w)
{
    size_t tries;
    for (tries = 0; tries < 20 && w->stream_count; tries++) {
        size_t recent = w->stream_count < 12 ? w->stream_count : 12;
        stream_t *s = w->streams[w->stream_count - 1 - world_below(w, (uint32_t)recent)];
        if (!s->closed && !s->done && s->headers && s->conn->alive) return s;
    }
    return NULL;
}

static void misbehave(world_t *w)
{
    static const uint32_t codes[] = { NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM, NGHTTP2_CANCEL,
                                      NGHTTP2_INTERNAL_ERROR, NGHTTP2_ENHANCE_YOUR_CALM };
    stream_t *s = some_stream(w);
    conn_t *c = w->conn[ENSIGN_LINK_RPC];
    uint32_t what = world_below(w, 12);
    troubles++;
    if (what < 3 && s) {
        peer_reset(s, codes[world_below(w, COUNT(codes))]);
    } else if (what < 5 && s) {
        if (s->started) peer_finish(s, ENSIGN_GRPC_UNAVAILABLE, "chaos", NULL);
        else peer_refuse(s, ENSIGN_GRPC_UNAVAILABLE, "chaos");
    } else if (what == 5 && s) {
        peer_finish_bare(s);
    } else if (what == 6 && c && !c->goaway && w->conn_count < WORLD_CONNS - 80) {
        peer_goaway_notice(w);
    } else if (what == 7 && c && c->goaway && s && s->conn == c) {
        peer_goaway(w, s->id, NGHTTP2_NO_ERROR, "bye");
    } else if (what == 8 && c) {
        peer_setting(w, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1 + world_below(w, 12));
    } else if (what == 9 && c) {
        peer_setting(w, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 100 + world_below(w, 70000));
    } else if (what == 10 && w->cut_in[ENSIGN_LINK_RPC] < 0 && w->conn_count < WORLD_CONNS - 80) {
        w->cut_in[ENSIGN_LINK_RPC] = world_below(w, 3000);
    } else if (what == 11 && w->cut_out[ENSIGN_LINK_RPC] < 0 && w->conn_count < WORLD_CONNS - 80) {
        w->cut_out[ENSIGN_LINK_RPC] = world_below(w, 3000);
    }
}

/* ------------------------------------------------------------------ the program */
static void open_call(world_t *w, rpc_t *k)
{
    ensign_call_desc_t d;
    memset(&d, 0, sizeof d);
    memset(k, 0, sizeof *k);
    d.method = "/test.Service/Echo";
    d.wait_for_ready = world_below(w, 2) != 0;
    d.unary = k->unary = world_below(w, 3) == 0;
    d.request = slice_of("\0\0\0\0once", 8);
    if (!d.unary) d.request.len = 0;
    d.window_bytes = 1024u << world_below(w, 7);
    d.deadline_ms = world_below(w, 4) == 0 ? 1 + world_below(w, 3000) : 0;
    d.user = k;
    k->h = ensign_call_open(w->client, &d);
    k->open = k->h.id != 0;
    k->half = k->unary;
    if (!k->open && !w->fault) world_fail(w, "no call");
}

static void open_publisher(world_t *w, pub_t *p)
{
    ensign_publisher_desc_t d;
    memset(&d, 0, sizeof d);
    d.topic = "weather";
    d.ensure_topic = p->ensure = world_below(w, 2) != 0;
    d.buffer_bytes = 8192;
    d.max_in_flight = 8 + world_below(w, 100);
    d.ack_timeout_ms = 1000 + world_below(w, 5000);
    d.user = p;
    p->h = ensign_publisher_open(w->client, &d);
    p->open = p->h.id != 0;
}

static void open_subscription(world_t *w, sub_t *s)
{
    const char *names[] = { "weather", service_topic_name(1 + world_below(w, TOPICS - 1)) };
    ensign_subscription_desc_t d;
    memset(&d, 0, sizeof d);
    d.window_bytes = 2048;
    d.topics = names;
    d.topic_count = world_below(w, 3);
    d.ensure_topics = world_below(w, 2) != 0;
    d.user = s;
    s->h = ensign_subscription_open(w->client, &d);
    s->open = s->h.id != 0;
}

static void open_query(world_t *w, query_t *q)
{
    ensign_query_desc_t d;
    char sql[] = "SELECT * FROM weather OFFSET 0";
    memset(&d, 0, sizeof d);
    memset(q, 0, sizeof *q);
    sql[sizeof sql - 2] = (char)('0' + (q - queries));
    d.sql = sql;
    d.window_bytes = 1024u << world_below(w, 4);
    d.timeout_ms = world_below(w, 4) == 0 ? 1 + world_below(w, 3000) : 0;
    d.user = q;
    q->h = ensign_query_open(w->client, &d);
    q->open = q->h.id != 0;
}

static void open_request(world_t *w, req_t *q)
{
    const char *name;
    ensign_ulid_t id;
    memset(q, 0, sizeof *q);
    q->kind = world_below(w, 8) ? (kind_t)world_below(w, WATCH) : WATCH; /* which takes its place for long */
    q->topic = world_below(w, TOPICS);
    q->before = there;
    name = service_topic_name(q->topic);
    topic_id(q->topic, id.b);
    switch (q->kind) {
    case CREATE: q->h = ensign_topic_create(w->client, name, NULL, q); break;
    case ENSURE: q->h = ensign_topic_ensure(w->client, name, q); break;
    case FIND: q->h = ensign_topic_by_name(w->client, name, q); break;
    case EXISTS:
        if (world_below(w, 2)) q->h = ensign_topic_exists(w->client, name, NULL, q);
        else q->h = ensign_topic_exists(w->client, NULL, &id, q);
        break;
    case LIST: q->h = ensign_topic_list(w->client, q); break;
    case STATUS: q->h = ensign_status(w->client, q); break;
    default: q->h = ensign_health(w->client, NULL, true, q); break;
    }
    q->open = q->h.id != 0;
    if (!q->open && !w->fault) world_fail(w, "no request");
}

static void open_something(world_t *w)
{
    uint32_t i = world_below(w, CALLS);
    if (!rpcs[i].open) open_call(w, &rpcs[i]);
    if (!reqs[i % REQS].open) open_request(w, &reqs[i % REQS]);
    i %= PUBS;
    if (!pubs[i].open && pubs[i].put == 0) open_publisher(w, &pubs[i]);
    i %= SUBS;
    if (!subs[i].open) open_subscription(w, &subs[i]);
    if (!queries[i % QUERIES].open) open_query(w, &queries[i % QUERIES]);
}

static void hold(world_t *w, uint32_t id, bool *held)
{
    *held = !*held;
    assert_int_equal(ensign_hold(w->client, id, *held), ENSIGN_OK);
}

/* A query or a request is held, goes on or, now and then, is forgotten. */
static void use_request(world_t *w)
{
    query_t *q = &queries[world_below(w, QUERIES)];
    req_t *r = &reqs[world_below(w, REQS)];
    bool forget = world_below(w, 8) == 0;
    if (world_below(w, 2)) {
        if (q->open && !forget) hold(w, q->h.id, &q->held);
        else if (q->open) q->open = ensign_forget(w->client, q->h.id) != ENSIGN_OK;
    } else {
        if (r->open && !forget) hold(w, r->h.id, &r->held);
        else if (r->open) r->open = ensign_forget(w->client, r->h.id) != ENSIGN_OK;
    }
}

static void use_call(world_t *w, rpc_t *k)
{
    static uint8_t data[30000];
    uint32_t op = world_below(w, 12);
    int rc = ENSIGN_OK;
    if (!k->open) return;
    if (op < 8 && !k->half) {
        memcpy(data, &k->sent, sizeof k->sent);
        rc = ensign_call_send(w->client, k->h,
                              slice_of(data, 4 + world_below(w, world_below(w, 4) ? 100 : 29000)), 0);
        if (rc == ENSIGN_OK) k->sent++;
    } else if (op == 8) {
        rc = ensign_call_half_close(w->client, k->h);
        if (rc == ENSIGN_OK) k->half = true;
    } else if (op == 9 && world_below(w, 5) == 0) {
        rc = ensign_cancel(w->client, k->h.id);
        k->stopped = true;
    } else if (op == 10 && world_below(w, 8) == 0) {
        rc = ensign_forget(w->client, k->h.id);
        k->open = false;
    }
    if (rc < 0 && rc != ENSIGN_E_STATE && !(w->fault && rc == ENSIGN_E_MEMORY))
        world_fail(w, "operation %u on a live call gave %d", op, rc);
}

static void use_publisher(world_t *w, pub_t *p)
{
    static uint8_t data[2000];
    ensign_event_t e;
    put_t x;
    int rc;
    if (!p->open || p->put >= TAGS) return;
    memset(&e, 0, sizeof e);
    x.way = (uint8_t)(world_below(w, 4) ? BY_DEFAULT : world_below(w, WAYS));
    x.topic = (uint8_t)(x.way == BY_DEFAULT ? 0 : world_below(w, TOPICS));
    x.there = there & 1u << x.topic && (lacked[x.topic] == 0 || lacked[x.topic] + UNKNOWN_MS < w->now);
    x.troubles = troubles;
    if (x.way == BY_NAME) e.topic = service_topic_name(x.topic);
    if (x.way == BY_ID) topic_id(x.topic, e.to_topic_id.b);
    data[0] = x.way;
    data[1] = x.topic;
    e.data = slice_of(data, 2 + world_below(w, world_below(w, 6) ? 60 : sizeof data - 2));
    e.tag = p->put;
    p->puts[p->put] = x;
    rc = ensign_publish(w->client, p->h, &e);
    if (rc == ENSIGN_OK) p->put++;
    else if (rc < 0 && !(w->fault && rc == ENSIGN_E_MEMORY)) world_fail(w, "ensign_publish gave %d", rc);
}

static void heard_call(world_t *w, rpc_t *k, const ensign_notice_t *n)
{
    uint32_t number;
    assert_true(k->open);
    assert_int_equal(n->handle, k->h.id);
    if (n->type == ENSIGN_NOTICE_MESSAGE) {
        assert_true(n->as.message.bytes.len >= 4);
        memcpy(&number, n->as.message.bytes.ptr, sizeof number);
        if (number != k->got++) world_fail(w, "message %u instead of %u", number, k->got - 1);
        k->after_stop = k->stopped;
    }
    assert_int_equal(n->last, n->type == (k->unary ? ENSIGN_NOTICE_REPLY : ENSIGN_NOTICE_END));
    if (k->unary) {
        assert_int_equal(n->type, ENSIGN_NOTICE_REPLY);
        assert_int_equal(n->error == NULL, n->as.reply.status == ENSIGN_GRPC_OK);
        if (!n->error) assert_true(n->as.reply.message.len >= 4);
        else assert_int_equal(n->as.reply.message.len, 0);
        k->open = false;
        ends++;
        return;
    }
    if (n->type != ENSIGN_NOTICE_END) return;
    if (k->after_stop && n->error) /* END did wait already; a reset with CANCEL is another code */
        assert_int_not_equal(n->error->code, ENSIGN_E_CANCELLED);
    assert_int_equal(n->error == NULL, n->as.end.status == ENSIGN_GRPC_OK);
    k->open = false;
    ends++;
}

/* A topic that was there is found, and one that may be made is, unless the server often fails. What was refused
 * for that is not asked for again in the next second, so later events may be refused without a trouble of their
 * own. */
static void heard_unknown(world_t *w, pub_t *p, uint64_t tag)
{
    const put_t *x = &p->puts[tag];
    if (troubles - x->troubles >= 5) p->excused = true;
    if (w->fault || p->excused) return;
    if (x->there || (p->ensure && x->way != BY_ID))
        world_fail(w, "event %d for topic %d was refused, way %d, there %d", (int)tag, x->topic, x->way,
                   x->there);
}

static void heard_publisher(world_t *w, pub_t *p, const ensign_notice_t *n)
{
    uint64_t tag;
    assert_true(p->open);
    if (n->type == ENSIGN_NOTICE_ACK || n->type == ENSIGN_NOTICE_NACK) {
        tag = n->type == ENSIGN_NOTICE_ACK ? n->as.ack.tag : n->as.nack.tag;
        assert_true(tag < p->put);
        if (p->answers[tag]++) world_fail(w, "event %d was answered twice", (int)tag);
        answered++;
        if (n->type == ENSIGN_NOTICE_NACK && n->as.nack.code == ENSIGN_NACK_TOPIC_UNKNOWN)
            heard_unknown(w, p, tag);
    }
    if (n->type != ENSIGN_NOTICE_END) return;
    for (tag = 0; tag < p->put; tag++) {
        if (!p->answers[tag]) world_fail(w, "END before event %d was answered", (int)tag);
    }
    p->open = false;
}

static void heard_subscription(world_t *w, sub_t *s, const ensign_notice_t *n)
{
    assert_true(s->open);
    if (n->type == ENSIGN_NOTICE_EVENT) {
        if (n->as.event->offset <= s->last)
            world_fail(w, "event %d after %d", (int)n->as.event->offset, (int)s->last);
        s->last = n->as.event->offset;
        int rc = ensign_ack(w->client, s->h, n->as.event->token);
        if (rc != ENSIGN_OK && !w->fault) world_fail(w, "ensign_ack gave %d", rc);
    }
    if (n->type == ENSIGN_NOTICE_END) s->open = false;
}

static void heard_query(world_t *w, query_t *q, const ensign_notice_t *n)
{
    uint32_t number;
    assert_true(q->open && !q->held);
    if (n->type == ENSIGN_NOTICE_EVENT) {
        assert_true(n->as.event->data.len >= sizeof number);
        memcpy(&number, n->as.event->data.ptr, sizeof number);
        if (number != q->got++) world_fail(w, "row %u instead of %u", number, q->got - 1);
        return;
    }
    assert_int_equal(n->type, ENSIGN_NOTICE_END);
    assert_int_equal(n->as.end.count, q->got);
    if (!n->error && !closing && q->got != q->rows)
        world_fail(w, "%u rows of %u, and END without an error", q->got, q->rows);
    q->open = false;
    rows += q->got;
}

static void heard_topic(world_t *w, req_t *q, const ensign_topic_t *t)
{
    unsigned i = service_topic_named(t->name, TOPICS);
    if (i == TOPICS || i != service_topic_with_id(t->id.b, TOPICS) || !(there & 1u << i))
        world_fail(w, "a topic that is none");
    if (q->kind != LIST && i != q->topic) world_fail(w, "topic %u instead of %u", i, q->topic);
    if (q->seen & 1u << i) world_fail(w, "topic %u twice", i);
    q->seen |= 1u << i;
}

static void heard_end(world_t *w, req_t *q, const ensign_notice_t *n)
{
    assert_true(n->last);
    assert_int_equal(n->as.end.count, q->count);
    assert_int_equal(n->error == NULL, n->as.end.status == ENSIGN_GRPC_OK);
    if (n->error && n->error->code == ENSIGN_E_NOT_FOUND && q->before & 1u << q->topic)
        world_fail(w, "topic %u was not found", q->topic);
    if (n->error) return;
    if (q->kind == WATCH && calm) return;
    assert_int_equal(q->kind, LIST);
    if (q->before & ~q->seen) world_fail(w, "the list lacks topics %x", q->before & ~q->seen);
}

static void heard_request(world_t *w, req_t *q, const ensign_notice_t *n)
{
    assert_true(q->open && !q->held);
    assert_int_equal(n->handle, q->h.id);
    if (n->type == ENSIGN_NOTICE_END) heard_end(w, q, n);
    else if (n->type == ENSIGN_NOTICE_TOPIC) heard_topic(w, q, n->as.topic);
    else if (n->type == ENSIGN_NOTICE_EXISTS && n->as.exists.exists)
        assert_true(there & 1u << q->topic);
    else if (n->type == ENSIGN_NOTICE_EXISTS)
        assert_false(q->before & 1u << q->topic);
    else if (n->type == ENSIGN_NOTICE_STATUS) assert_text(n->as.status.version, "chaos");
    else assert_int_equal(n->type, ENSIGN_NOTICE_HEALTH);
    assert_int_equal(n->last, n->type == ENSIGN_NOTICE_END || (q->kind != LIST && q->kind != WATCH));
    q->count++;
    if (!n->last) return;
    q->open = false;
    told++;
}

static bool is_of(const void *user, const void *array, size_t size)
{
    const uint8_t *u = (const uint8_t *)user, *a = (const uint8_t *)array;
    return u >= a && u < a + size;
}

static void pull_some(world_t *w, uint32_t count)
{
    const ensign_notice_t *n;
    while (count-- && (n = world_pull(w, 0)) != NULL) {
        if (n->handle == ENSIGN_CLIENT) continue;
        if (is_of(n->user, rpcs, sizeof rpcs)) heard_call(w, (rpc_t *)n->user, n);
        else if (is_of(n->user, pubs, sizeof pubs)) heard_publisher(w, (pub_t *)n->user, n);
        else if (is_of(n->user, queries, sizeof queries)) heard_query(w, (query_t *)n->user, n);
        else if (is_of(n->user, reqs, sizeof reqs)) heard_request(w, (req_t *)n->user, n);
        else heard_subscription(w, (sub_t *)n->user, n);
    }
}

static void step(world_t *w)
{
    uint32_t op = world_below(w, 100);
    sub_t *s = &subs[world_below(w, SUBS)];
    if (op < 10) open_something(w);
    else if (op < 25) use_call(w, &rpcs[world_below(w, CALLS)]);
    else if (op < 45) use_publisher(w, &pubs[world_below(w, PUBS)]);
    else if (op < 55) answer_some(w);
    else if (op < 60) deliver_some(w);
    else if (op < 72) pull_some(w, world_below(w, 20));
    else if (op < 90) world_round(w);
    else if (op < 92) use_request(w);
    else if (op < 94) world_pass(w, world_below(w, 300));
    else if (op < 96) misbehave(w);
    else if (op == 96 && s->open) hold(w, s->h.id, &s->held);
    else if (op == 98 && world_below(w, 5) == 0) there |= 1u << world_below(w, TOPICS);
    else if (op == 99) use_request(w);
    else if (op == 97) w->dial[ENSIGN_LINK_RPC] = world_below(w, 3) ? DIAL_ACCEPT : DIAL_REFUSE;
}

/* The server comes to its senses: all that was accepted must end. */
static void come_to_rest(world_t *w)
{
    uint64_t turns;
    size_t i;
    calm = true;
    w->fail_in = 0;
    w->dial[ENSIGN_LINK_RPC] = DIAL_ACCEPT;
    w->cut_in[ENSIGN_LINK_RPC] = w->cut_out[ENSIGN_LINK_RPC] = -1;
    for (i = 0; i < SUBS; i++) {
        if (subs[i].open) ensign_hold(w->client, subs[i].h.id, false);
    }
    for (i = 0; i < QUERIES; i++) {
        if (queries[i].open && queries[i].held) hold(w, queries[i].h.id, &queries[i].held);
    }
    for (i = 0; i < REQS; i++) {
        if (reqs[i].open && reqs[i].held) hold(w, reqs[i].h.id, &reqs[i].held);
    }
    closing = true;
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 100000), ENSIGN_OK);
    for (i = 0; i < CALLS; i++) {
        if (rpcs[i].open) ensign_call_half_close(w->client, rpcs[i].h);
    }
    for (turns = 0; !w->client_closed; turns++) {
        if (turns > 100000) world_fail(w, "ensign_close does not come to its end");
        pull_some(w, 1000);
        answer_some(w);
        deliver_some(w);
        if (w->client_closed || world_round(w)) continue;
        w->waited_ms = 0;
        world_advance(w, "CLOSED");
    }
    for (i = 0; i < CALLS; i++) assert_false(rpcs[i].open);
    for (i = 0; i < PUBS; i++) assert_false(pubs[i].open);
    for (i = 0; i < SUBS; i++) assert_false(subs[i].open);
    for (i = 0; i < QUERIES; i++) assert_false(queries[i].open);
    for (i = 0; i < REQS; i++) assert_false(reqs[i].open);
}

static void begin(world_t *w)
{
    service_reset();
    memset(pubs, 0, sizeof pubs);
    memset(subs, 0, sizeof subs);
    memset(rpcs, 0, sizeof rpcs);
    memset(queries, 0, sizeof queries);
    memset(reqs, 0, sizeof reqs);
    there = world_below(w, 2);
    memset(lacked, 0, sizeof lacked);
    troubles = rows = told = 0;
    delivered = 0;
    next_answer = 0;
    ends = answered = 0;
    calm = closing = false;
    w->on_message = on_message;
    w->on_half = on_half;
    w->desc.backoff_max_ms = 1000;
    w->desc.request_timeout_ms = 4000;
    world_create_with_key(w);
}

SCRIPT(everything_at_once)
{
    int i;
    begin(w);
    for (i = 0; i < STEPS; i++) step(w);
    come_to_rest(w);
    assert_true(ends > 20);
    assert_true(answered > 100);
    assert_true(rows > 0);
    assert_true(told > 0);
}

SCRIPT(everything_with_little_memory)
{
    int i;
    begin(w);
    w->fault = true;
    w->fail_in = 40;
    for (i = 0; i < STEPS; i++) step(w);
    come_to_rest(w);
    assert_true(ends > 20);
}

SCRIPT(destroyed_at_any_moment)
{
    uint64_t seed = w->seed * 100;
    const char *name = w->script;
    chunk_t mode = w->mode;
    int turn, i;
    for (turn = 0; turn < 20; turn++) {
        world_begin(w, mode, seed + (uint64_t)turn);
        w->script = name;
        begin(w);
        for (i = (int)world_below(w, 800); i > 0; i--) step(w);
        world_close(w);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(everything_at_once), IN_MODES(everything_with_little_memory),
        IN_MODES(destroyed_at_any_moment),
    };
    int rc = cmocka_run_group_tests_name("chaos", tests, NULL, NULL);
    service_reset();
    return rc;
}
