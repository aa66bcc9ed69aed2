/* fuzz_sub.c - what the service says to a subscriber and a publisher, made from the input
 * Input  a byte of options, one for the cuts, then operations (see play): replies of the server with fields
 *        from the input, or any bytes as a message; answers to questions for topics; ends of streams; the
 *        program's publish (to topics that the map has or lacks), pull, ack; time
 * Wants  an event's slices lie in the receive buffer and stand until the next notice of that handle; its
 *        token is good; each published event ends in one ACK or NACK, which gives back what was published;
 *        OPEN, WAITING, GAP, END in an order that makes sense; OPEN has as many topics as it says, and they
 *        stand as long as it does; memory and credit within the bounds, all of it back at the end. */
#include "messages.h"

enum { TAGS = 200, WINDOW = 1024, EVENT_MAX = 3000, REPLY_MAX = 4000, ROUNDS_MAX = 20000, DATA_MAX = 300 };

typedef struct run_t {
    actor_t a;
    ensign_subscription_t sub;
    ensign_publisher_t pub;
    bool sub_ended, pub_ended, closed;
    bool elsewhere; /* events name topics of their own */
    uint32_t sub_opens, pub_opens;
    uint64_t put, events;
    size_t sizes[TAGS];
    bool answered[TAGS];
    ensign_event_t event; /* the last one, while it stands */
    bool stands;
    uint32_t sum; /* of its bytes */
    uint32_t pub_topics, sub_topics; /* what the topics of an OPEN sum to, while it stands; 0: none does */
    uint64_t token;
    uint8_t ids[TAGS][16]; /* local ids that the server has seen */
    size_t id_count;
} run_t;

static run_t run;

/* ------------------------------------------------------------------ what the server says */
/* StreamReady: names and ids of topics. Ids have 16 bytes, but for some. */
static void make_ready(run_t *r, message_t *ready)
{
    static const char *const names[] = { "weather", "traffic", "", "a topic with a rather long name" };

    ready->len = 0;
    put_bytes(ready, 1, ensign_str("me"));
    put_bytes(ready, 2, ensign_str("server"));
    for (uint8_t n = input_byte(&r->a) % 4; n > 0; n--) {
        static message_t entry;
        uint8_t what = input_byte(&r->a);
        entry.len = 0;
        put_bytes(&entry, 1, ensign_str(names[what % 4]));
        put_bytes(&entry, 2, input_bytes(&r->a, what < 0xE0 ? 16 : what % 20));
        put_bytes(ready, 3, bytes_of(&entry));
    }
}

static void make_event(run_t *r, message_t *wrap)
{
    static const uint8_t id[10] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };
    static uint8_t filling[EVENT_MAX];
    static message_t event;
    ensign_slice_t data = input_short(&r->a), much = { filling, 0 };
    uint8_t what = input_byte(&r->a);

    if (what & 1) much.len = input_16(&r->a) % EVENT_MAX;
    event.len = wrap->len = 0;
    put_bytes(&event, 2, much.len ? much : data);
    put_listed(&r->a, &event);
    if (what & 2) put_bytes(wrap, 1, ensi_slice(id, sizeof id));
    if (what & 4) put_bytes(wrap, 2, input_bytes(&r->a, 16));
    if (what & 8) put_listed(&r->a, wrap);
    if (!(what & 16)) put_bytes(wrap, 9, bytes_of(&event));
    if (what & 32) put_number(wrap, 3, what);
    if (what & 64) put_listed(&r->a, wrap);
}

/* ------------------------------------------------------------------ the server */
static stream_t *newest(run_t *r, const char *method)
{
    for (size_t i = r->a.count; i > 0; i--) {
        stream_t *s = r->a.streams[i - 1];
        if (strstr(stream_path(s), method)) return s->headers && !s->closed ? s : NULL;
    }
    return NULL;
}

/* Notes the local ids of the events that have come. */
static void hear(run_t *r, stream_t *s)
{
    ensi_pb_publisher_request_t request;
    ensign_slice_t m;

    while (s && peer_take(s, &m)) {
        WANT(ensi_pb_decode(ensi_pb_publisher_request_fields, &request, m.ptr, m.len));
        if (!request.has_event || r->id_count == TAGS) continue;
        WANT(request.event.local_id.len == 16);
        memcpy(r->ids[r->id_count++], request.event.local_id.ptr, 16);
    }
}

static void reply(stream_t *s, uint32_t tag, const message_t *inner)
{
    static message_t whole;
    whole.len = 0;
    put_bytes(&whole, tag, bytes_of(inner));
    stream_message(s, whole.bytes, whole.len);
}

/* What both streams have: 0 the server is ready, 1 it closes the stream (the tag behind that of ready), 2 any
 * bytes as a message. False: none of these. */
static bool play_common(run_t *r, stream_t *s, uint8_t what, uint32_t ready)
{
    static message_t m;
    ensign_slice_t raw;

    m.len = 0;
    if (what > 2) return false;
    if (what == 0) make_ready(r, &m);
    if (what < 2) {
        reply(s, ready + what, &m);
    } else {
        raw = input_bytes(&r->a, input_byte(&r->a));
        stream_message(s, raw.ptr, raw.len);
    }
    return true;
}

static void play_subscribe(run_t *r, stream_t *s, uint8_t what)
{
    static message_t m;

    if (play_common(r, s, what, 2)) return;
    m.len = 0;
    if (what == 3) {
        put_listed(&r->a, &m);
        stream_message(s, m.bytes, m.len);
    } else {
        make_event(r, &m);
        reply(s, 1, &m);
    }
}

static void play_answer(run_t *r, stream_t *s, bool ack)
{
    static message_t m;
    uint8_t which = input_byte(&r->a);

    m.len = 0;
    if (which < 0xE0 && r->id_count > 0)
        put_bytes(&m, 1, ensi_slice(r->ids[which % r->id_count], 16));
    else
        put_bytes(&m, 1, input_short(&r->a));
    if (!ack) put_number(&m, 2, input_byte(&r->a));
    if (!ack) put_bytes(&m, 3, input_short(&r->a));
    if (which & 1) put_listed(&r->a, &m);
    reply(s, ack ? 1 : 2, &m);
}

static void play_publish(run_t *r, stream_t *s, uint8_t what)
{
    hear(r, s);
    if (!play_common(r, s, what, 3)) play_answer(r, s, what != 3);
}

/* TopicExists and CreateTopic, with an answer of either. */
static void play_topic(run_t *r, stream_t *s, uint8_t what)
{
    static const char *const codes[] = { "0", "3", "5", "6", "7", "9", "12", "14", "16" };
    static message_t m;
    ensign_slice_t raw;

    m.len = 0;
    switch (what) {
    case 0:
    case 1: /* id, or what was looked up; exists; name */
        put_bytes(&m, 1, input_bytes(&r->a, 16));
        if (strstr(stream_path(s), "/TopicExists")) put_number(&m, 2, input_byte(&r->a) & 1);
        else put_bytes(&m, 3, input_short(&r->a));
        stream_message(s, m.bytes, m.len);
        if (what == 0) stream_status(s, "0");
        break;
    case 2:
        stream_status(s, codes[input_byte(&r->a) % ENSI_COUNT(codes)]);
        break;
    case 3:
        raw = input_short(&r->a);
        stream_message(s, raw.ptr, raw.len);
        stream_status(s, "0");
        break;
    case 4:
        stream_reset(s, input_byte(&r->a) % 14);
        break;
    case 5:
        stream_finish(s, true);
        break;
    case 6:
        put_listed(&r->a, &m);
        stream_message(s, m.bytes, m.len);
        break;
    default:
        raw = input_short(&r->a);
        stream_write(s, raw.ptr, raw.len);
        break;
    }
}

static void play_end(run_t *r, stream_t *s, uint8_t what)
{
    static const char *const codes[] = { "0", "1", "5", "7", "9", "13", "14", "16" };
    uint8_t b = input_byte(&r->a);

    switch (what) {
    case 0:
        stream_status(s, codes[b % 8]);
        break;
    case 1:
        stream_reset(s, b % 14);
        break;
    case 2:
        stream_finish(s, true);
        break;
    default:
        if (b % 4 == 0)
            actor_goaway(&r->a, INT32_MAX, 0, ensign_str("bye"));
        else if (b % 4 == 1)
            actor_cut(&r->a, r->a.conn, b & 16 ? ECONNRESET : 0);
        break;
    }
}

/* ------------------------------------------------------------------ events */
static const ensi_sub_t *sub_of(const run_t *r)
{
    return (const ensi_sub_t *)(const void *)ensi_handle_find(&r->a.c->handles, r->sub.id);
}

/* The server was ready once. OPEN need not have said so: one that was not pulled goes with its stream. */
static bool opened(const run_t *r)
{
    return sub_of(r)->reopen.opens > 0;
}

/* In the message that is lent. */
static void check_inside(const run_t *r, ensign_slice_t s)
{
    const ensi_rx_t *rx = &sub_of(r)->call.s.rx;
    const uint8_t *from = rx->lent_ptr ? rx->lent_ptr : rx->ptr + rx->start;
    size_t size = rx->lent_ptr ? ensi_mem_size(rx->lent_ptr) : rx->lent;

    if (s.len == 0) return;
    WANT(s.ptr >= from && s.len <= size && s.ptr + s.len <= from + size);
}

static void check_event(run_t *r, const ensign_event_t *e)
{
    ensign_slice_t slices[EVENT_SLICES];
    ensign_slice_t key, value;
    char text[64];
    size_t at = 0;
    int len;

    slices_of_event(e, slices);
    for (size_t i = 0; i < ENSI_COUNT(slices); i++) check_inside(r, slices[i]);
    while (ensign_metadata_next(e, &at, &key, &value)) {
        check_inside(r, key);
        check_inside(r, value);
    }
    len = ensign_event_text(e, text, sizeof text);
    WANT(len > 0 && strlen(text) == ((size_t)len < sizeof text ? (size_t)len : sizeof text - 1));
    WANT(e->token != 0 && e->token != r->token);
    r->event = *e;
    r->stands = true;
    r->sum = sum_of_event(e);
    r->token = e->token;
    r->events++;
}

/* One list of an OPEN notice, and how long it is. */
static uint32_t sum_of_list(const run_t *r, uint32_t handle, int which, uint32_t *count)
{
    ensign_slice_t name;
    ensign_ulid_t id;
    uint32_t sum = 0;
    size_t at = 0;

    for (*count = 0; ensign_open_next(r->a.c, handle, which, &at, &name, &id); ++*count)
        sum = sum * 3 + (sum_of(name) ^ sum_of(ensi_slice(id.b, sizeof id.b)));
    return sum;
}

/* Never 0. */
static uint32_t sum_of_topics(const run_t *r, uint32_t handle, uint32_t *topics, uint32_t *missing)
{
    uint32_t sum = sum_of_list(r, handle, ENSIGN_OPEN_TOPICS, topics);
    return (sum * 5 + sum_of_list(r, handle, ENSIGN_OPEN_MISSING, missing)) | 1;
}

static uint32_t check_open(const run_t *r, const ensign_notice_t *n)
{
    uint32_t topics, missing, sum = sum_of_topics(r, n->handle, &topics, &missing);

    WANT(n->as.open.topics == topics && n->as.open.missing == missing);
    WANT(missing <= (n->handle == r->pub.id ? 1 : 3));
    return sum;
}

/* An event, and the topics of OPEN, stand until the next notice of their handle, whatever comes meanwhile. */
static void check_stands(run_t *r)
{
    uint32_t topics, missing;

    if (r->stands) WANT(sum_of_event(&r->event) == r->sum);
    if (r->pub_topics) WANT(sum_of_topics(r, r->pub.id, &topics, &missing) == r->pub_topics);
    if (r->sub_topics) WANT(sum_of_topics(r, r->sub.id, &topics, &missing) == r->sub_topics);
}

static void check_published(run_t *r, const ensign_event_t *e, uint64_t tag)
{
    WANT(e != NULL && e->data.len == r->sizes[tag] && e->tag == tag);
    for (size_t i = 0; i < e->data.len; i++) WANT(e->data.ptr[i] == (uint8_t)(tag + i));
}

/* ------------------------------------------------------------------ the program */
/* A name or an id of its own, of topics that are in the map, may come into it, or never do. */
static void address(run_t *r, ensign_event_t *e)
{
    static const char *const names[] = {
        NULL, "weather", "traffic", "made", "a topic with a rather long name", "70000000000000000000000000"
    };
    static const char *const ids[] = { "weather-id-16byt", "traffic-id-16byt", "nowhere-id-16byt" };
    uint8_t what = input_byte(&r->a);

    if (what < 0x80) e->topic = names[what % ENSI_COUNT(names)];
    else memcpy(e->to_topic_id.b, ids[what % ENSI_COUNT(ids)], sizeof e->to_topic_id.b);
}

static void publish(run_t *r)
{
    static uint8_t data[DATA_MAX];
    ensign_event_t e;
    int rc;

    if (r->put == TAGS || r->closed) return;
    memset(&e, 0, sizeof e);
    e.tag = r->put;
    e.data.ptr = data;
    e.data.len = input_16(&r->a) % DATA_MAX;
    for (size_t i = 0; i < e.data.len; i++) data[i] = (uint8_t)(e.tag + i);
    if (r->elsewhere) address(r, &e);
    rc = ensign_publish(r->a.c, r->pub, &e);
    WANT(rc == ENSIGN_OK || rc == ENSIGN_AGAIN || rc == ENSIGN_ENDED || rc == ENSIGN_E_HANDLE ||
         rc == ENSIGN_E_UNKNOWN_TOPIC);
    if (rc == ENSIGN_OK) r->sizes[r->put++] = e.data.len;
}

static void take_publisher(run_t *r, const ensign_notice_t *n)
{
    uint64_t tag = n->type == ENSIGN_NOTICE_ACK ? n->as.ack.tag : n->as.nack.tag;

    WANT(!r->pub_ended);
    switch (n->type) {
    case ENSIGN_NOTICE_OPEN:
        WANT(n->as.open.times > r->pub_opens);
        r->pub_opens = n->as.open.times;
        r->pub_topics = check_open(r, n);
        break;
    case ENSIGN_NOTICE_WAITING:
        WANT(n->error != NULL);
        break;
    case ENSIGN_NOTICE_ACK:
    case ENSIGN_NOTICE_NACK:
        WANT(tag < r->put && !r->answered[tag]);
        r->answered[tag] = true;
        if (n->type == ENSIGN_NOTICE_NACK) WANT(n->error != NULL);
        if (n->type == ENSIGN_NOTICE_NACK) check_published(r, n->as.nack.event, tag);
        break;
    case ENSIGN_NOTICE_ROOM:
        break;
    default:
        WANT(n->type == ENSIGN_NOTICE_END && n->last);
        r->pub_ended = true;
    }
}

/* Good at once: OK, or ENDED when the stream has ended behind the event. */
static void check_token(run_t *r)
{
    int rc = ensign_nack(r->a.c, r->sub, r->token, ENSIGN_NACK_UNPROCESSED);
    WANT(rc == ENSIGN_OK || rc == ENSIGN_ENDED);
    WANT(ensign_ack(r->a.c, r->sub, r->token) == rc);
}

static void take_subscription(run_t *r, const ensign_notice_t *n)
{
    WANT(!r->sub_ended);
    switch (n->type) {
    case ENSIGN_NOTICE_OPEN:
        WANT(n->as.open.times > r->sub_opens);
        r->sub_opens = n->as.open.times;
        r->sub_topics = check_open(r, n);
        break;
    case ENSIGN_NOTICE_WAITING:
        WANT(n->error != NULL);
        break;
    case ENSIGN_NOTICE_EVENT:
        WANT(opened(r));
        check_event(r, n->as.event);
        check_token(r);
        break;
    case ENSIGN_NOTICE_GAP:
        WANT(n->error != NULL && n->as.gap.times > 0);
        break;
    default:
        WANT(n->type == ENSIGN_NOTICE_END && n->last && n->as.end.count == r->events);
        r->sub_ended = true;
    }
}

static bool pull(run_t *r)
{
    const ensign_notice_t *n;

    check_stands(r);
    n = ensign_next(r->a.c);
    if (!n) return false;
    if (n->error) WANT(n->error->code < 0 && n->error->text[0] != '\0');
    if (n->handle == r->pub.id) {
        r->pub_topics = 0;
        check_stands(r);
        take_publisher(r, n);
    } else if (n->handle == r->sub.id) {
        r->stands = false;
        r->sub_topics = 0;
        check_stands(r);
        take_subscription(r, n);
    } else {
        WANT(n->handle == ENSIGN_CLIENT);
        r->closed = n->type == ENSIGN_NOTICE_CLOSED;
    }
    return true;
}

static void play_program(run_t *r, uint8_t what)
{
    uint8_t b;
    int rc;

    switch (what) {
    case 0:
        b = input_byte(&r->a);
        rc = ensign_ack(r->a.c, r->sub, b & 1 ? r->token : r->token - b);
        WANT(rc == ENSIGN_OK || rc == ENSIGN_E_STALE || rc == ENSIGN_ENDED || rc == ENSIGN_E_HANDLE);
        break;
    case 1:
        for (b = input_byte(&r->a) % 16; b > 0 && pull(r); b--) {
        }
        break;
    default:
        publish(r);
        break;
    }
}

/* ------------------------------------------------------------------ the whole */
static void open_all(run_t *r, uint8_t options)
{
    static const char *const topics[] = { "weather", "70000000000000000000000000", "made" };
    ensign_publisher_desc_t pub;
    ensign_subscription_desc_t sub;

    memset(&pub, 0, sizeof pub);
    memset(&sub, 0, sizeof sub);
    pub.topic = options & 1 ? "traffic" : "weather";
    pub.ensure_topic = (options & 32) != 0;
    pub.at_most_once = (options & 2) != 0;
    pub.buffer_bytes = options & 4 ? 1024 : 4096;
    pub.window_bytes = WINDOW;
    pub.max_reply_bytes = REPLY_MAX;
    pub.max_in_flight = 8;
    pub.ack_timeout_ms = 5000;
    sub.topics = topics;
    sub.topic_count = options & 64 ? 3 : options & 8 ? 0 : 1;
    sub.ensure_topics = (options & 64) != 0;
    r->elsewhere = (options & 128) != 0;
    sub.window_bytes = WINDOW;
    sub.max_event_bytes = EVENT_MAX / 2;
    sub.max_unacked = options & 16 ? 1 : 5;
    r->a.bound += ensign_publisher_memory_bound(&pub) + ensign_subscription_memory_bound(&sub);
    r->pub = ensign_publisher_open(r->a.c, &pub);
    r->sub = ensign_subscription_open(r->a.c, &sub);
    WANT(r->pub.id != 0 && r->sub.id != 0);
}

static void play(run_t *r)
{
    uint8_t op = input_byte(&r->a);
    stream_t *sub = newest(r, "/Subscribe"), *pub = newest(r, "/Publish"), *topic = newest(r, "Topic");

    if (op < 0x40) {
        if (sub) play_subscribe(r, sub, op % 8);
    } else if (op < 0x80) {
        if (pub) play_publish(r, pub, op % 6);
    } else if (op < 0x90) {
        if (op & 8 ? sub : pub) play_end(r, op & 8 ? sub : pub, op % 4);
    } else if (op < 0xC0) {
        play_program(r, op % 4);
    } else if (op < 0xD0) {
        (void)actor_sleep(&r->a, 1u << op % 16);
    } else if (op >= 0xE0 && op < 0xF0) {
        if (topic) play_topic(r, topic, op % 8);
    } else {
        for (uint32_t turns = 1u << op % 8; turns > 0 && actor_turn(&r->a); turns--) {
        }
    }
}

static void finish(run_t *r)
{
    actor_settle(&r->a);
    WANT(ensign_close(r->a.c, ENSIGN_CLIENT, 2000) == ENSIGN_OK);
    for (int i = 0; !r->closed; i++) {
        WANT(i < ROUNDS_MAX);
        actor_settle(&r->a);
        check_stands(r);
        while (pull(r)) {
        }
        if (!r->closed) (void)actor_sleep(&r->a, 500);
    }
    WANT(r->pub_ended && r->sub_ended);
    for (uint64_t tag = 0; tag < r->put; tag++) WANT(r->answered[tag]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t options, cut;

    if (size < 3 || size > 4096) return 0;
    memset((uint8_t *)&run + sizeof run.a, 0, sizeof run - sizeof run.a);
    actor_begin(&run.a, data, size);
    options = input_byte(&run.a);
    cut = input_byte(&run.a);
    open_all(&run, options);
    actor_settle(&run.a);
    run.a.cut = cut;
    while (input_left(&run.a)) play(&run);
    finish(&run);
    actor_end(&run.a);
    return 0;
}
