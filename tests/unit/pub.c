/* pub.c - the publisher: its moves, its ring against a model, servers that misbehave */
#include "bare.h"

static int64_t wall;

static int64_t clock_ms(void *user)
{
    (void)user;
    return wall;
}

static int setup(void **state)
{
    ensign_desc_t d = bare_desc();
    (void)state;
    d.wall_ms = clock_ms;
    wall = 1700000000123;
    return bare_setup(&d);
}

static ensign_publisher_desc_t to_weather(void)
{
    ensign_publisher_desc_t d;
    memset(&d, 0, sizeof d);
    d.topic = "weather";
    return d;
}

static ensi_pub_t *open_with(const ensign_publisher_desc_t *d)
{
    ensign_publisher_t p = ensign_publisher_open(client, d);
    assert_int_not_equal(p.id, 0);
    return (ensi_pub_t *)(void *)ensi_handle_find(&client->handles, p.id);
}

static ensi_pub_t *open_weather(void)
{
    ensign_publisher_desc_t d = to_weather();
    return open_with(&d);
}

static int put(ensi_pub_t *p, const char *topic, const void *data, size_t n, uint64_t tag)
{
    ensign_publisher_t handle;
    ensign_event_t e;
    memset(&e, 0, sizeof e);
    e.topic = topic;
    e.data = ensi_slice(data, n);
    e.tag = tag;
    handle.id = p->h.id;
    return ensign_publish(client, handle, &e);
}

static void close_in(ensi_pub_t *p, uint32_t timeout_ms)
{
    ensign_publisher_t handle;
    handle.id = p->h.id;
    assert_int_equal(ensign_close(client, handle.id, timeout_ms), ENSIGN_OK);
}

/* ---------------------------------------------------------------- a server without a wire */

/* The call goes out: the stream is there, its open_stream is read. */
static void submit(ensi_pub_t *p)
{
    ensi_pub_serve(client, &p->h);
    assert_int_equal(p->state, ENSI_PUB_OPENING);
    bare_submit(&p->call);
    p->call.s.headers_sent = p->call.s.headers_done = true;
    bare_take(&p->call, NULL, SIZE_MAX);
    ensi_pub_serve(client, &p->h);
}

static void feed(ensi_pub_t *p, const uint8_t *bytes, size_t len)
{
    bare_message(&p->call, bytes, len);
    ensi_pub_serve(client, &p->h);
}

static void reply(ensi_pub_t *p, const ensi_pb_publisher_reply_t *m)
{
    uint8_t bytes[512];
    size_t len = 0;
    assert_true(ensi_pb_encode(ensi_pb_publisher_reply_fields, m, bytes, sizeof bytes, &len));
    feed(p, bytes, len);
}

static const char weather_map[] = "\x1a\x1b\x0a\x07weather\x12\x10weather-id-16byt";
static const char traffic_map[] = "\x1a\x1b\x0a\x07traffic\x12\x10traffic-id-16byt";

static void ready_with(ensi_pub_t *p, const char *map)
{
    ensi_pb_publisher_reply_t m;
    memset(&m, 0, sizeof m);
    m.has_ready = true;
    m.ready.topics = ensign_str(map);
    reply(p, &m);
}

static void ready(ensi_pub_t *p)
{
    ready_with(p, weather_map);
}

static void up(ensi_pub_t *p)
{
    submit(p);
    ready(p);
    assert_int_equal(p->state, ENSI_PUB_READY);
}

static void ack(ensi_pub_t *p, const uint8_t *id)
{
    ensi_pb_publisher_reply_t m;
    memset(&m, 0, sizeof m);
    m.has_ack = m.ack.has_committed = true;
    m.ack.id = ensi_slice(id, ENSI_PUB_LOCAL_ID);
    m.ack.committed.seconds = 7;
    reply(p, &m);
}

static void nack_saying(ensi_pub_t *p, const uint8_t *id, int code, const char *words)
{
    ensi_pb_publisher_reply_t m;
    memset(&m, 0, sizeof m);
    m.has_nack = true;
    m.nack.id = ensi_slice(id, ENSI_PUB_LOCAL_ID);
    m.nack.code = code;
    m.nack.error = ensign_str(words);
    reply(p, &m);
}

static void nack(ensi_pub_t *p, const uint8_t *id, int code)
{
    nack_saying(p, id, code, "no");
}

static void id_of(const ensi_pub_t *p, uint64_t count, uint8_t id[ENSI_PUB_LOCAL_ID])
{
    ensi_put_be64(id, p->nonce);
    ensi_put_be64(id + 8, count);
}

static void ack_of(ensi_pub_t *p, uint64_t count)
{
    uint8_t id[ENSI_PUB_LOCAL_ID];
    id_of(p, count, id);
    ack(p, id);
}

/* All that the stream would send now. */
static size_t take(ensi_pub_t *p, size_t cap)
{
    return bare_take(&p->call, NULL, cap);
}

static void ended(ensi_pub_t *p, int status)
{
    bare_end(&p->call, status);
    ensi_pub_serve(client, &p->h);
}

static void cut(ensi_pub_t *p)
{
    bare_cut(&p->call);
    ensi_pub_serve(client, &p->h);
}

/* The server's GOAWAY: for once the stream is on a connection that drains; no session counts its credit. */
static void go_away(ensi_pub_t *p)
{
    static ensi_h2_t draining;
    bool ended_before = p->call.s.ended;
    draining.draining = true;
    p->call.s.h2 = &draining;
    p->call.s.id = 1;
    p->call.s.ended = true;
    ensi_pub_serve(client, &p->h);
    p->call.s.h2 = NULL;
    p->call.s.id = 0;
    p->call.s.ended = ended_before;
}

static void pass(ensi_pub_t *p, uint32_t ms)
{
    bare_pass(&p->h, ms);
    ensi_pub_serve(client, &p->h);
}

/* The server ends the stream with a status that is no end for good; then it is time to try again. */
static void refuse(ensi_pub_t *p, int status)
{
    submit(p);
    ended(p, status);
    assert_int_equal(p->state, ENSI_PUB_WAIT);
    pass(p, 100000);
}

static const ensign_notice_t *next(ensi_pub_t *p)
{
    return ensign_next_of(client, p->h.id);
}

static const ensign_notice_t *expect(ensi_pub_t *p, ensign_notice_type_t type)
{
    const ensign_notice_t *n = next(p);
    assert_non_null(n);
    assert_int_equal(n->type, type);
    return n;
}

/* ---------------------------------------------------------------- moves */

static void only_legal_moves(void **state)
{
    static const int8_t to[ENSI_PUB_STATES][ENSI_PUB_INPUTS] = {
        /*             open ready goaway half lost end */
        /* WAIT     */ { 1, -1, -1, -1, -1, 5 },
        /* OPENING  */ { -1, 2, -1, -1, 0, 5 },
        /* READY    */ { -1, -1, 3, 4, 0, 5 },
        /* DRAINING */ { -1, -1, -1, 4, 0, 5 },
        /* HALF     */ { -1, -1, -1, -1, 0, 5 },
        /* ENDED    */ { -1, -1, -1, -1, -1, -1 },
    };
    (void)state;
    CHECK_MOVES(ensi_pub_t, ensi_pub_state_t, ensi_pub_in_t, ensi_pub_move, to);
}

/* ---------------------------------------------------------------- the ring against a model */

enum { EVENTS = 1500, DATA_MAX = 9000 };
typedef enum { FATE_NONE, FATE_ACKED, FATE_NACKED, FATE_UNKNOWN_TOPIC } fate_t;

static struct {
    fate_t fate;                    /* what the server did */
    uint32_t size;
    bool accepted, ended, handed;   /* handed: the server had the whole of it, on some stream */
} model[EVENTS];
static uint64_t tags;               /* published so far */
static uint64_t received[EVENTS];   /* on this stream, in order, not answered */
static size_t received_count;
static uint8_t stream[65536];       /* bytes that the server has not taken apart */
static size_t stream_len;
static size_t ended_count, rooms, wants, cuts, waits;
static uint64_t lent_tag;
static const ensign_notice_t *lent;

static uint8_t pattern(uint64_t tag, size_t i)
{
    return (uint8_t)(tag * 31 + i * 7);
}

static void check_event(const ensign_event_t *e, uint64_t tag)
{
    assert_int_equal(e->tag, tag);
    assert_int_equal(e->data.len, model[tag].size);
    for (size_t i = 0; i < e->data.len; i++) assert_int_equal(e->data.ptr[i], pattern(tag, i));
}

static void check_ring(const ensi_pub_t *p)
{
    assert_true(p->freed <= p->freeable && p->freeable <= p->done && p->pulled <= p->done && p->done <= p->sent);
    assert_true(p->sent <= p->resolved && p->resolved <= p->put);
    assert_true(p->put - p->done <= p->max_in_flight);
    assert_int_equal(p->h.stats.in_flight, p->put - p->done);
    assert_true(p->done == p->put || ensi_pub_entry(p, p->done)->state < ENSI_ENTRY_ACKED);
    for (uint64_t i = p->freed, end = 0; i < p->put; i++) {
        const ensi_entry_t *x = ensi_pub_entry(p, i);
        size_t size = x->len + x->name_len;
        assert_true(x->at + size <= p->cap); /* in one piece */
        if (i > p->freed && x->at != 0) assert_int_equal(x->at, end);
        end = x->at + size;
    }
    if (lent) check_event(lent->as.nack.event, lent_tag); /* stands until the next notice */
}

/* One whole message of the stream: an event, which must be the next one that is not answered. */
static void server_event(ensi_pub_t *p, const uint8_t *bytes, size_t len)
{
    ensi_pb_publisher_request_t m;
    ensi_pb_event_t e;
    uint64_t tag;
    assert_true(ensi_pb_decode(ensi_pb_publisher_request_fields, &m, bytes, len));
    assert_true(m.has_event);
    assert_memory_equal(m.event.topic_id.ptr, "weather-id-16byt", 16);
    assert_int_equal(ensi_get_be64(m.event.local_id.ptr), p->nonce);
    tag = ensi_get_be64(m.event.local_id.ptr + 8); /* the tests publish tag n as the n-th event */
    assert_true(tag < tags);
    if (received_count) assert_true(received[received_count - 1] < tag);
    assert_true(model[tag].fate == FATE_NONE);
    assert_false(p->at_most_once && model[tag].handed);
    model[tag].handed = true;
    assert_true(ensi_pb_decode(ensi_pb_event_fields, &e, m.event.event.ptr, m.event.event.len));
    assert_int_equal(e.data.len, model[tag].size);
    for (size_t i = 0; i < e.data.len; i++) assert_int_equal(e.data.ptr[i], pattern(tag, i));
    received[received_count++] = tag;
}

static void server_take(ensi_pub_t *p)
{
    bool eof;
    size_t cap = ensi_min(1 + below(below(4) ? 300 : 12000), sizeof stream - stream_len);
    if (p->call.state != ENSI_GRPC_OPEN) return;
    stream_len += ensi_grpc_on_read(&p->call.s, stream + stream_len, cap, &eof);
    while (stream_len >= ENSI_GRPC_PREFIX && stream_len >= ENSI_GRPC_PREFIX + ensi_get_be32(stream + 1)) {
        size_t total = ENSI_GRPC_PREFIX + ensi_get_be32(stream + 1);
        server_event(p, stream + ENSI_GRPC_PREFIX, total - ENSI_GRPC_PREFIX);
        stream_len -= total;
        memmove(stream, stream + total, stream_len);
    }
}

/* Acks go in order; a nack may come for any. */
static void server_answer(ensi_pub_t *p, bool overtake)
{
    uint8_t id[ENSI_PUB_LOCAL_ID];
    size_t at = overtake && received_count ? below((uint32_t)received_count) : 0;
    uint64_t tag;
    if (received_count == 0 || p->call.state != ENSI_GRPC_OPEN) return;
    tag = received[at];
    memmove(received + at, received + at + 1, (--received_count - at) * sizeof received[0]);
    model[tag].fate = overtake ? FATE_NACKED : FATE_ACKED;
    id_of(p, tag, id);
    if (overtake) nack(p, id, 9);
    else ack(p, id);
    if (below(5) == 0) ack(p, id); /* said twice */
}

static void stream_gone(void)
{
    received_count = stream_len = 0;
}

static void model_put(ensi_pub_t *p)
{
    static uint8_t data[DATA_MAX];
    uint32_t size = below(30) ? below(200) : below(DATA_MAX);
    bool unknown = below(12) == 0;
    int rc;
    if (tags == EVENTS) return;
    for (size_t i = 0; i < size; i++) data[i] = pattern(tags, i);
    model[tags].size = size;
    rc = put(p, unknown ? "nowhere" : NULL, data, size, tags);
    if (rc == ENSIGN_AGAIN) {
        wants = 1;
        return;
    }
    assert_int_equal(rc, ENSIGN_OK);
    model[tags].fate = unknown ? FATE_UNKNOWN_TOPIC : FATE_NONE;
    model[tags].accepted = true;
    tags++;
}

static void model_answer(const ensi_pub_t *p, const ensign_notice_t *n)
{
    bool acked = n->type == ENSIGN_NOTICE_ACK;
    uint64_t tag = acked ? n->as.ack.tag : n->as.nack.tag;
    assert_true(tag < tags);
    assert_false(model[tag].ended);
    model[tag].ended = true;
    ended_count++;
    if (acked) {
        assert_int_equal(model[tag].fate, FATE_ACKED);
        assert_int_equal(n->as.ack.committed.seconds, 7);
        return;
    }
    check_event(n->as.nack.event, tag);
    lent = n;
    lent_tag = tag;
    if (n->as.nack.code == ENSIGN_NACK_OUTCOME_UNKNOWN) {
        assert_int_equal(n->as.nack.stored, ENSIGN_STORED_MAYBE);
        assert_true(p->at_most_once && model[tag].fate == FATE_NONE && model[tag].handed);
    } else if (n->as.nack.code == ENSIGN_NACK_TOPIC_UNKNOWN) {
        assert_int_equal(model[tag].fate, FATE_UNKNOWN_TOPIC);
    } else {
        assert_int_equal(n->as.nack.code, 9);
        assert_int_equal(model[tag].fate, FATE_NACKED);
    }
}

static void model_pull(ensi_pub_t *p)
{
    const ensign_notice_t *n = next(p);
    if (!n) return;
    lent = NULL;
    if (n->type == ENSIGN_NOTICE_ROOM) {
        assert_int_equal(wants, 1);
        wants = 0;
        rooms++;
        return;
    }
    if (n->type == ENSIGN_NOTICE_OPEN) return;
    if (n->type == ENSIGN_NOTICE_WAITING) { /* of a lost stream alone: a half-close is by our wish */
        assert_int_equal(n->error->code, ENSIGN_E_CLOSED);
        assert_in_range(++waits, 1, cuts);
        return;
    }
    assert_true(n->type == ENSIGN_NOTICE_ACK || n->type == ENSIGN_NOTICE_NACK);
    model_answer(p, n);
}

static void model_step(ensi_pub_t *p)
{
    uint32_t op = below(100);
    if (op < 30) model_put(p);
    else if (op < 50) server_take(p);
    else if (op < 64) server_answer(p, false);
    else if (op < 68) server_answer(p, true);
    else if (op < 94) model_pull(p);
    else if (op == 94 && p->call.state == ENSI_GRPC_OPEN) {
        stream_gone();
        cuts++;
        cut(p);
    } else if (op == 95 && p->state == ENSI_PUB_READY) {
        go_away(p);
    }
    if (p->state == ENSI_PUB_HALF) { /* the server answers the half-close; the next connection is there */
        assert_int_equal(received_count + stream_len, 0);
        ended(p, 0);
    }
    if (p->state == ENSI_PUB_WAIT && below(4) == 0) pass(p, 100000);
    if (p->state == ENSI_PUB_OPENING && p->call.state == ENSI_GRPC_QUEUED && below(4) == 0) up(p);
    check_ring(p);
}

static void run_model(const ensign_publisher_desc_t *d, uint64_t with)
{
    ensi_pub_t *p = open_with(d);
    const ensign_notice_t *n;
    size_t steps = 0, counted;
    seed = with;
    memset(model, 0, sizeof model);
    tags = 0;
    ended_count = rooms = wants = cuts = waits = 0;
    lent = NULL;
    stream_gone();
    ensi_pub_serve(client, &p->h);
    do {
        model_step(p);
        counted = ended_count;
        for (uint64_t i = 0; d->quiet_acks && i < tags; i++) counted += model[i].fate == FATE_ACKED;
        assert_true(++steps < 400000);
    } while (counted < EVENTS || p->state != ENSI_PUB_READY);
    assert_int_equal(p->done, EVENTS);
    assert_int_equal(p->h.stats.acked + p->h.stats.nacked, EVENTS);
    model_pull(p);
    while ((n = next(p)) != NULL) assert_true(n->type == ENSIGN_NOTICE_OPEN || n->type == ENSIGN_NOTICE_ROOM);
    lent = NULL;
    assert_int_equal(p->freeable, EVENTS); /* the last one may be lent */
    assert_int_equal(p->pulled, EVENTS);
    assert_int_equal(p->answers, 0);
    assert_true(waits > 0);
    close_in(p, 1000);
    ensi_pub_serve(client, &p->h);
    assert_int_equal(p->state, ENSI_PUB_HALF);
    ended(p, 0);
    n = expect(p, ENSIGN_NOTICE_END);
    assert_true(n->last);
    assert_null(n->error);
}

static void the_ring_against_a_model(void **state)
{
    ensign_publisher_desc_t d = to_weather();
    (void)state;
    d.buffer_bytes = 4096;
    d.max_in_flight = 20;
    for (uint64_t i = 1; i <= 4; i++) run_model(&d, i);
    assert_true(rooms > 0);
    d.quiet_acks = true;
    run_model(&d, 11);
    d.quiet_acks = false;
    d.at_most_once = true;
    run_model(&d, 21);
    d.max_in_flight = 1;
    run_model(&d, 31);
    d.at_most_once = false;
    run_model(&d, 32);
    d.buffer_bytes = 1024;
    d.max_in_flight = 3;
    run_model(&d, 41);
}

/* Takes all that the stream sends: events `from` to `to`, each whole from its first byte on. */
static void takes_intact(ensi_pub_t *p, uint64_t from, uint64_t to)
{
    static uint8_t out[8192];
    size_t n = bare_take(&p->call, out, sizeof out), at = 0;
    for (uint64_t tag = from; tag < to; tag++) {
        ensi_pb_publisher_request_t m;
        ensi_pb_event_t e;
        size_t len;
        assert_true(n - at >= ENSI_GRPC_PREFIX);
        assert_int_equal(out[at], 0); /* the prefix: not compressed, and a length */
        len = ensi_get_be32(out + at + 1);
        at += ENSI_GRPC_PREFIX;
        assert_true(len <= n - at);
        assert_true(ensi_pb_decode(ensi_pb_publisher_request_fields, &m, out + at, len));
        assert_int_equal(ensi_get_be64(m.event.local_id.ptr + 8), tag);
        assert_true(ensi_pb_decode(ensi_pb_event_fields, &e, m.event.event.ptr, m.event.event.len));
        for (size_t i = 0; i < e.data.len; i++) assert_int_equal(e.data.ptr[i], pattern(tag, i));
        at += len;
    }
    assert_int_equal(at, n);
}

static int put_pattern(ensi_pub_t *p, uint64_t tag, size_t size)
{
    static uint8_t data[1024];
    for (size_t i = 0; i < size; i++) data[i] = pattern(tag, i);
    return put(p, NULL, data, size, tag);
}

/* The last event before the oldest one is taken to the byte, and one more byte is refused. Where it begins at
 * the ring's own begin, and where others stand before it. */
static void the_ring_ends_where_the_oldest_event_begins(void **state)
{
    (void)state;
    for (int before = 0; before < 2; before++) {
        int taken = 0, refused = 0;
        for (size_t size = 1; size < 400; size++) {
            ensign_publisher_desc_t d = to_weather();
            uint64_t tag = 3;
            ensi_pub_t *p;
            d.buffer_bytes = 1024;
            p = open_with(&d);
            up(p);
            for (uint64_t i = 0; i < 3; i++) assert_int_equal(put_pattern(p, i, 240), ENSIGN_OK);
            ensi_pub_serve(client, &p->h);
            takes_intact(p, 0, 3);
            ack_of(p, 0);
            expect(p, ENSIGN_NOTICE_OPEN);
            expect(p, ENSIGN_NOTICE_ACK);
            assert_null(next(p));
            if (before) assert_int_equal(put_pattern(p, tag++, 60), ENSIGN_OK);
            assert_true(!before || ensi_pub_entry(p, 3)->at == 0);
            if (put_pattern(p, tag, size) == ENSIGN_OK) {
                assert_int_equal(refused, 0);
                taken++;
                tag++;
            } else {
                refused++;
            }
            cut(p); /* the oldest goes again */
            pass(p, 100000);
            up(p);
            takes_intact(p, 1, tag);
            ensign_forget(client, p->h.id);
        }
        assert_true(taken > 0 && refused > 0);
    }
}

/* ---------------------------------------------------------------- room */

/* The lent notice stands in the way of the room that was asked for: pulling again must free it. */
static void a_lent_nack_gives_way_to_room(void **state)
{
    ensign_publisher_desc_t d = to_weather();
    const ensign_notice_t *n;
    ensi_pub_t *p;
    uint8_t id[ENSI_PUB_LOCAL_ID];
    (void)state;
    d.max_in_flight = 1;
    p = open_with(&d);
    up(p);
    expect(p, ENSIGN_NOTICE_OPEN);
    assert_int_equal(put(p, NULL, "a", 1, 1), ENSIGN_OK);
    ensi_pub_serve(client, &p->h);
    take(p, 1000);
    id_of(p, 0, id);
    nack(p, id, 9);
    n = ensign_next(client);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_NACK);
    assert_null(ensign_next(client));
    assert_true(ensi_slice_is(n->as.nack.event->data, "a"));
    assert_int_equal(put(p, NULL, "b", 1, 2), ENSIGN_AGAIN);
    assert_true(ensi_slice_is(n->as.nack.event->data, "a")); /* AGAIN changes nothing */
    n = ensign_next(client);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_ROOM);
    assert_int_equal(put(p, NULL, "b", 1, 2), ENSIGN_OK);
    assert_null(ensign_next(client));
}

static void a_ring_that_cannot_shrink_still_serves(void **state)
{
    static uint8_t data[5000];
    ensign_publisher_desc_t d = to_weather();
    ensi_pub_t *p;
    (void)state;
    d.buffer_bytes = 1024;
    d.quiet_acks = true;
    p = open_with(&d);
    up(p);
    assert_int_equal(put(p, NULL, data, sizeof data, 1), ENSIGN_OK);
    assert_true(p->cap > sizeof data);
    ensi_pub_serve(client, &p->h);
    take(p, 10000);
    ack_of(p, 0);
    no_memory = true;
    assert_int_equal(put(p, NULL, data, 100, 2), ENSIGN_OK);
    assert_true(p->cap > sizeof data);
    ensi_pub_serve(client, &p->h);
    take(p, 10000);
    ack_of(p, 1);
    assert_int_equal(put(p, NULL, data, sizeof data + 1000, 3), ENSIGN_E_MEMORY);
    assert_int_equal(p->put, 2);
    no_memory = false;
    assert_int_equal(put(p, NULL, data, 100, 3), ENSIGN_OK);
    assert_int_equal(p->cap, 1024);
}

/* ---------------------------------------------------------------- what is known of an event */

static void half_handed_over_is_not_sent(void **state)
{
    static uint8_t data[1000];
    ensign_publisher_desc_t d = to_weather();
    const ensign_notice_t *n;
    ensi_pub_t *p;
    (void)state;
    d.at_most_once = true;
    p = open_with(&d);
    up(p);
    expect(p, ENSIGN_NOTICE_OPEN);
    assert_int_equal(put(p, NULL, "a", 1, 1), ENSIGN_OK);
    assert_int_equal(put(p, NULL, data, sizeof data, 2), ENSIGN_OK);
    ensi_pub_serve(client, &p->h);
    take(p, 500);
    assert_int_equal(p->sent, 1);
    cut(p);
    assert_int_equal(expect(p, ENSIGN_NOTICE_WAITING)->error->code, ENSIGN_E_CLOSED);
    n = expect(p, ENSIGN_NOTICE_NACK);
    assert_int_equal(n->as.nack.tag, 1);
    assert_int_equal(n->as.nack.code, ENSIGN_NACK_OUTCOME_UNKNOWN);
    assert_null(next(p)); /* a server cannot have stored the half of an event: it goes again */
    pass(p, 100000);
    up(p);
    take(p, 500);
    close_in(p, 10);
    ensi_pub_serve(client, &p->h);
    pass(p, 20);
    expect(p, ENSIGN_NOTICE_OPEN);
    n = expect(p, ENSIGN_NOTICE_NACK);
    assert_int_equal(n->as.nack.tag, 2);
    assert_int_equal(n->as.nack.code, ENSIGN_NACK_NOT_SENT);
    assert_true(expect(p, ENSIGN_NOTICE_END)->last);
}

static void a_nack_names_the_topic_or_says_that_an_id_was_given(void **state)
{
    ensign_publisher_desc_t d = to_weather();
    ensign_publisher_t handle;
    ensign_event_t e;
    ensi_pub_t *p = open_with(&d);
    uint8_t id[ENSI_PUB_LOCAL_ID];
    (void)state;
    assert_int_equal(put(p, "nowhere", "", 0, 2), ENSIGN_OK); /* before the stream: its map decides */
    up(p);
    expect(p, ENSIGN_NOTICE_OPEN);
    memset(&e, 0, sizeof e);
    memcpy(e.to_topic_id.b, "weather-id-16byt", 16);
    handle.id = p->h.id;
    assert_int_equal(ensign_publish(client, handle, &e), ENSIGN_OK);
    ensi_pub_serve(client, &p->h);
    assert_non_null(strstr(expect(p, ENSIGN_NOTICE_NACK)->error->text, "(topic nowhere)"));
    take(p, 1000);
    id_of(p, 1, id);
    nack(p, id, 9);
    assert_non_null(strstr(expect(p, ENSIGN_NOTICE_NACK)->error->text, "(topic given by id)"));
}

/* What NACK tells ends with the topic's name, and is cut nowhere before. */
static void expect_words(ensi_pub_t *p, int code, const char *words)
{
    static const char end[] = " (topic a-name-of-forty-letters-and-of-not-one-m)";
    const ensign_notice_t *n = expect(p, ENSIGN_NOTICE_NACK);
    const char *text = n->error->text;
    assert_int_equal(n->error->code, ENSIGN_E_NACK);
    assert_int_equal(n->error->native, code);
    assert_int_equal(n->as.nack.code, code);
    assert_non_null(strstr(text, ensign_nack_name(code)));
    if (!strstr(text, words)) fail_msg("no \"%s\" in: %s", words, text);
    if (strcmp(text + strlen(text) - (sizeof end - 1), end) != 0) fail_msg("cut: %s", text);
}

static void the_words_of_a_nack_are_not_cut(void **state)
{
    static const char name[] = "a-name-of-forty-letters-and-of-not-one-more";
    static const int codes[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 77, 100, 101, 102, 103, 104, 105 };
    static char server[120];
    ensign_publisher_desc_t d = to_weather();
    uint8_t id[ENSI_PUB_LOCAL_ID], map[200] = { 0 }, entry[100], *at = entry;
    ensi_pub_t *p;
    uint64_t count = 0;
    (void)state;
    memset(server, 's', sizeof server - 1);
    d.topic = name;
    d.at_most_once = true;
    p = open_with(&d);
    at = ensi_pb_put_bytes(at, 1, ensign_str(name));
    at = ensi_pb_put_bytes(at, 2, ensi_slice("a-long-id-16byte", 16));
    ensi_pb_put_bytes(map, 3, ensi_slice(entry, (size_t)(at - entry)));
    submit(p);
    ready_with(p, (const char *)map);
    expect(p, ENSIGN_NOTICE_OPEN);
    for (size_t i = 0; i < 2 * ENSI_COUNT(codes); i++, count++) { /* without the server's words, and with */
        int code = codes[i / 2];
        assert_int_equal(put(p, NULL, "a", 1, count), ENSIGN_OK);
        ensi_pub_serve(client, &p->h);
        take(p, 1000);
        id_of(p, count, id);
        nack_saying(p, id, code, i % 2 ? server : "");
        expect_words(p, code, i % 2 ? server : ensi_id_nack_text(code));
    }
    assert_int_equal(put(p, NULL, "a", 1, count), ENSIGN_OK);
    ensi_pub_serve(client, &p->h);
    take(p, 1000);
    cut(p);
    expect(p, ENSIGN_NOTICE_WAITING);
    expect_words(p, ENSIGN_NACK_OUTCOME_UNKNOWN, "cut"); /* the reason is known */
    assert_int_equal(put(p, NULL, "a", 1, count), ENSIGN_OK);
    pass(p, 100000);
    submit(p);
    ready_with(p, (const char *)map);
    expect(p, ENSIGN_NOTICE_OPEN);
    assert_int_equal(ensign_cancel(client, p->h.id), ENSIGN_OK);
    expect_words(p, ENSIGN_NACK_NOT_SENT, "cancelled by this program");
}

/* Only the latest words are kept: an older nack is told with its code's own, and never with another's. */
static void a_nack_never_tells_the_words_of_another(void **state)
{
    enum { NACKS = 3 * ENSI_PUB_TEXTS };
    ensi_pub_t *p = open_weather();
    uint8_t id[ENSI_PUB_LOCAL_ID];
    char words[32];
    (void)state;
    up(p);
    expect(p, ENSIGN_NOTICE_OPEN);
    for (uint64_t i = 0; i < NACKS; i++) assert_int_equal(put(p, NULL, "a", 1, i), ENSIGN_OK);
    ensi_pub_serve(client, &p->h);
    take(p, 100000);
    for (uint64_t i = 0; i < NACKS; i++) {
        snprintf(words, sizeof words, "words of event %02d", (int)i);
        id_of(p, i, id);
        nack_saying(p, id, 9, words);
    }
    for (uint64_t i = 0; i < NACKS; i++) {
        const ensign_notice_t *n = expect(p, ENSIGN_NOTICE_NACK);
        bool kept = i >= NACKS - ENSI_PUB_TEXTS;
        assert_int_equal(n->as.nack.tag, i);
        snprintf(words, sizeof words, "words of event %02d", (int)i);
        assert_non_null(strstr(n->error->text, kept ? words : ensi_id_nack_text(9)));
        if (!kept) assert_null(strstr(n->error->text, "words of event"));
    }
}

/* That an event can be published again is no help where the key was refused: the reason is. */
static void a_refused_key_is_what_the_nack_tells(void **state)
{
    static const char text[] = "the API key was revoked";
    static const char refused[] = "answers PERMISSION_DENIED: the API key was revoked (topic weather)";
    ensign_publisher_desc_t d = to_weather();
    ensi_pub_t *p = open_with(&d);
    const ensign_notice_t *n;
    (void)state;
    assert_int_equal(put(p, NULL, "a", 1, 1), ENSIGN_OK);
    submit(p);
    p->call.text = ensign_str(text);
    ended(p, ENSIGN_GRPC_PERMISSION_DENIED);
    assert_int_equal(p->state, ENSI_PUB_ENDED);
    n = expect(p, ENSIGN_NOTICE_NACK);
    assert_int_equal(n->as.nack.code, ENSIGN_NACK_NOT_SENT);
    assert_int_equal(n->as.nack.stored, ENSIGN_STORED_NO);
    assert_non_null(strstr(n->error->text, refused));
    assert_null(strstr(n->error->text, "again"));
    assert_int_equal(expect(p, ENSIGN_NOTICE_END)->error->code, ENSIGN_E_PERMISSION_DENIED);

    p = open_with(&d); /* and where the auth service refuses it, so that the client has failed */
    assert_int_equal(put(p, NULL, "a", 1, 1), ENSIGN_OK);
    ensi_fail(&client->last_fault, ENSIGN_E_CREDENTIALS, 403, "auth: %s", text);
    ensi_client_final(client, ENSIGN_GRPC_UNAUTHENTICATED, &client->last_fault);
    n = expect(p, ENSIGN_NOTICE_NACK);
    assert_string_equal(n->error->text, "publish: NOT_SENT: auth: the API key was revoked (topic weather)");
    assert_int_equal(expect(p, ENSIGN_NOTICE_END)->error->code, ENSIGN_E_CREDENTIALS);
}

/* ---------------------------------------------------------------- the topics of OPEN */

static void expect_topic(const ensi_pub_t *p, int which, const char *name, const void *id)
{
    static const uint8_t zeros[16];
    ensign_slice_t got;
    ensign_ulid_t got_id;
    size_t at = 0;
    assert_true(ensign_open_next(client, p->h.id, which, &at, &got, &got_id));
    assert_true(ensi_slice_is(got, name));
    assert_memory_equal(got_id.b, id ? id : zeros, 16);
    assert_false(ensign_open_next(client, p->h.id, which, &at, &got, &got_id));
}

static bool none(const ensi_pub_t *p, int which)
{
    ensign_slice_t name;
    ensign_ulid_t id;
    size_t at = 0;
    return !ensign_open_next(client, p->h.id, which, &at, &name, &id);
}

static void open_tells_the_topics_and_whether_its_own_is_there(void **state)
{
    static const char *const asked[] = { "weather", "wether", "there", "absent", NULL };
    ensign_publisher_desc_t d = to_weather();
    char text[27];
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(asked); i++) {
        bool by_id = i == 2 || i == 3, lacks = i == 1 || i == 3;
        const char *id = i == 2 ? "weather-id-16byt" : "nowhere-id-16byt";
        const ensign_notice_t *n;
        ensign_ulid_t ulid;
        ensi_pub_t *p;
        memcpy(ulid.b, id, sizeof ulid.b);
        ensign_ulid_text(ulid, text);
        d.topic = by_id ? text : asked[i];
        p = open_with(&d);
        up(p);
        assert_true(none(p, ENSIGN_OPEN_TOPICS)); /* before the notice there is nothing to walk */
        n = expect(p, ENSIGN_NOTICE_OPEN);
        assert_int_equal(n->as.open.times, 1);
        assert_int_equal(n->as.open.topics, 1);
        assert_int_equal(n->as.open.missing, lacks);
        expect_topic(p, ENSIGN_OPEN_TOPICS, "weather", "weather-id-16byt");
        if (lacks) expect_topic(p, ENSIGN_OPEN_MISSING, by_id ? "" : "wether", by_id ? id : NULL);
        else assert_true(none(p, ENSIGN_OPEN_MISSING));
        assert_true(none(p, 0));
        assert_true(none(p, 3));
        assert_null(next(p)); /* there is none: what stands goes on standing */
        expect_topic(p, ENSIGN_OPEN_TOPICS, "weather", "weather-id-16byt");
        assert_int_equal(ensign_cancel(client, p->h.id), ENSIGN_OK);
        assert_true(expect(p, ENSIGN_NOTICE_END)->last);
        assert_true(none(p, ENSIGN_OPEN_TOPICS));
        assert_null(ensign_next(client));
    }
}

static void the_topics_of_open_stand_while_another_map_comes(void **state)
{
    ensi_pub_t *p = open_weather();
    const ensign_notice_t *n;
    const ensi_topics_block_t *old;
    (void)state;
    up(p);
    expect(p, ENSIGN_NOTICE_OPEN);
    old = p->told.block;
    for (int i = 0; i < 3; i++) { /* the stream is opened again, by other maps and without a topic */
        cut(p);
        pass(p, 100000);
        submit(p);
        ready_with(p, i == 1 ? "" : traffic_map);
        assert_int_equal(p->state, ENSI_PUB_READY);
        assert_ptr_equal(p->told.block, old);
        expect_topic(p, ENSIGN_OPEN_TOPICS, "weather", "weather-id-16byt");
        assert_true(none(p, ENSIGN_OPEN_MISSING));
    }
    n = expect(p, ENSIGN_NOTICE_OPEN);
    assert_int_equal(n->as.open.times, 4);
    assert_int_equal(n->as.open.topics, 1);
    assert_int_equal(n->as.open.missing, 1);
    expect_topic(p, ENSIGN_OPEN_TOPICS, "traffic", "traffic-id-16byt");
    expect_topic(p, ENSIGN_OPEN_MISSING, "weather", NULL);
    cut(p);
    expect(p, ENSIGN_NOTICE_WAITING);
    assert_null(p->told.block); /* it stood until this notice */
    assert_true(none(p, ENSIGN_OPEN_TOPICS));
}

/* ---------------------------------------------------------------- events that were received */

/* The next event that the stream sends. */
static void sent_event(ensi_pub_t *p, ensi_pb_publisher_request_t *m, ensi_pb_event_t *e)
{
    static uint8_t out[4096];
    bool eof;
    size_t n;
    ensi_pub_serve(client, &p->h);
    n = ensi_grpc_on_read(&p->call.s, out, sizeof out, &eof);
    assert_true(n > ENSI_GRPC_PREFIX);
    n -= ENSI_GRPC_PREFIX;
    assert_int_equal(ensi_get_be32(out + 1), n); /* one, and no more */
    assert_true(ensi_pb_decode(ensi_pb_publisher_request_fields, m, out + ENSI_GRPC_PREFIX, n));
    assert_true(m->has_event);
    assert_true(ensi_pb_decode(ensi_pb_event_fields, e, m->event.event.ptr, m->event.event.len));
}

static ensign_event_t received_event(void)
{
    ensign_event_t e;
    memset(&e, 0, sizeof e);
    e.data = ensign_str("rain");
    e.mimetype = 7;
    e.type.name = ensign_str("Report");
    e.type.minor = 2;
    e.created.seconds = 1600000000;
    e.metadata = ensi_slice("\x1A\x06\x0A\x01k\x12\x01v", 8);
    e.key = ensign_str("key");
    memset(e.id.b, 1, sizeof e.id.b);
    memcpy(e.topic_id.b, "traffic-id-16byt", 16);
    e.topic_name = ensign_str("traffic");
    e.publisher_id = e.publisher_client_id = e.publisher_address = e.publisher_agent = ensign_str("somebody");
    e.committed.seconds = 1600000001;
    e.offset = e.epoch = 5;
    memset(e.duplicate_of.b, 2, sizeof e.duplicate_of.b);
    e.token = 9;
    return e;
}

static void forwarding_an_event_is_one_assignment(void **state)
{
    static const char *const own[] = { "weather", NULL };
    (void)state;
    for (size_t i = 0; i < 2; i++) { /* the publisher's topic by its name, and by its id */
        ensign_publisher_desc_t d = to_weather();
        const ensign_event_t in = received_event();
        ensign_event_t out = in;
        ensi_pb_publisher_request_t m;
        ensi_pb_event_t e;
        ensign_publisher_t handle;
        ensign_ulid_t ulid;
        char text[27];
        ensi_pub_t *p;
        memcpy(ulid.b, "weather-id-16byt", sizeof ulid.b);
        ensign_ulid_text(ulid, text);
        d.topic = own[i] ? own[i] : text;
        p = open_with(&d);
        handle.id = p->h.id;
        up(p);
        assert_int_equal(ensign_publish(client, handle, &out), ENSIGN_OK);
        assert_memory_equal(&out, &in, sizeof in);
        sent_event(p, &m, &e);
        assert_true(ensi_slice_is(m.event.topic_id, "weather-id-16byt"));
        /* of where it came from nothing goes out */
        assert_int_equal(m.event.id.len + m.event.duplicate_id.len, 0);
        assert_false(m.event.has_publisher || m.event.has_committed || m.event.is_duplicate);
        assert_int_equal(m.event.offset + m.event.epoch, 0);
        assert_true(ensi_slice_is(m.event.key, "key"));
        assert_true(ensi_slice_is(e.data, "rain"));
        assert_true(ensi_slice_eq(e.metadata, in.metadata));
        assert_int_equal(e.mimetype, 7);
        assert_true(ensi_slice_is(e.type.name, "Report"));
        assert_int_equal(e.created.seconds, 1600000000);
    }
}

/* The event of a NACK is published as it is, and goes to where it was meant to go. */
static void a_nacked_event_can_be_published_as_it_is(void **state)
{
    static const char maps[] = "\x1a\x1b\x0a\x07weather\x12\x10weather-id-16byt"
                               "\x1a\x1b\x0a\x07traffic\x12\x10traffic-id-16byt";
    ensign_publisher_desc_t d = to_weather();
    ensign_event_t out = received_event();
    ensi_pub_t *p = open_with(&d);
    ensi_pb_publisher_request_t m;
    ensi_pb_event_t e;
    ensign_publisher_t handle;
    const ensign_notice_t *n;
    uint8_t id[ENSI_PUB_LOCAL_ID];
    (void)state;
    handle.id = p->h.id;
    submit(p);
    ready_with(p, maps);
    expect(p, ENSIGN_NOTICE_OPEN);
    out.topic = "traffic";
    out.tag = 3;
    assert_int_equal(ensign_publish(client, handle, &out), ENSIGN_OK);
    sent_event(p, &m, &e);
    id_of(p, 0, id);
    nack(p, id, ENSIGN_NACK_INTERNAL);
    n = expect(p, ENSIGN_NOTICE_NACK);
    assert_null(n->as.nack.event->topic);
    assert_memory_equal(n->as.nack.event->to_topic_id.b, "traffic-id-16byt", 16);
    assert_true(ensi_slice_is(n->as.nack.event->topic_name, "traffic"));
    out = *n->as.nack.event;
    assert_int_equal(ensign_publish(client, handle, &out), ENSIGN_OK);
    sent_event(p, &m, &e);
    assert_true(ensi_slice_is(m.event.topic_id, "traffic-id-16byt"));
    assert_true(ensi_slice_is(e.data, "rain"));
    assert_true(ensi_slice_is(m.event.key, "key"));
    ack_of(p, 1);
    assert_int_equal(expect(p, ENSIGN_NOTICE_ACK)->as.ack.tag, 3);
}

/* The server would end the stream for one that it cannot read, and each further stream at the same event. */
static void encryption_and_compression_are_messages(void **state)
{
    static const struct { ensign_slice_t encryption, compression; bool good; } cases[] = {
        { { NULL, 0 }, { NULL, 0 }, true },
        { { (const uint8_t *)"\x0a\x02\xc3\xbc\x30\x6e", 6 }, { (const uint8_t *)"\x08\x01", 2 }, true },
        { { (const uint8_t *)"\xff\xff", 2 }, { NULL, 0 }, false },
        { { (const uint8_t *)"\x0a\x05key", 5 }, { NULL, 0 }, false },  /* cut */
        { { (const uint8_t *)"\x0a\x01\xfc", 3 }, { NULL, 0 }, false },  /* not UTF-8 */
        { { NULL, 0 }, { (const uint8_t *)"\x08", 1 }, false },
        { { NULL, 0 }, { (const uint8_t *)"x", 1 }, false },
    };
    ensign_publisher_desc_t d = to_weather();
    ensign_publisher_t handle;
    ensign_event_t e;
    (void)state;
    handle.id = open_with(&d)->h.id;
    for (size_t i = 0; i < ENSI_COUNT(cases); i++) {
        memset(&e, 0, sizeof e);
        e.encryption = cases[i].encryption;
        e.compression = cases[i].compression;
        if (cases[i].good) {
            assert_int_equal(ensign_publish(client, handle, &e), ENSIGN_OK);
            continue;
        }
        assert_int_equal(ensign_publish(client, handle, &e), ENSIGN_E_ARGUMENT);
        assert_non_null(strstr(ensign_error(client)->text, "encryption or compression"));
    }
}

/* ---------------------------------------------------------------- max_event_bytes */

static void max_event_bytes_has_bounds(void **state)
{
    static const uint32_t bad[] = { 1, 1023, ENSI_SERVER_MESSAGE_MAX + 1, UINT32_MAX };
    ensign_publisher_desc_t d = to_weather();
    char number[16];
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(bad); i++) {
        d.max_event_bytes = bad[i];
        assert_int_equal(ensign_publisher_open(client, &d).id, 0);
        assert_int_equal(ensign_error(client)->code, ENSIGN_E_ARGUMENT);
        snprintf(number, sizeof number, "%lu", (unsigned long)bad[i]);
        assert_non_null(strstr(ensign_error(client)->text, number));
        assert_non_null(strstr(ensign_error(client)->text, "max_event_bytes"));
        assert_non_null(strstr(ensign_error(client)->text, "1024 to 4194304"));
    }
    d.max_event_bytes = 0;
    assert_int_equal(open_with(&d)->max_event_bytes, ENSI_SERVER_MESSAGE_MAX);
    d.max_event_bytes = ENSI_SERVER_MESSAGE_MAX;
    assert_int_equal(open_with(&d)->max_event_bytes, ENSI_SERVER_MESSAGE_MAX);
    d.max_event_bytes = 1024;
    assert_int_equal(open_with(&d)->max_event_bytes, 1024);
}

/* To the byte, as it is encoded; a refused event changes nothing, and the ring grows no further than for the
 * largest one that is taken. */
static void the_largest_event_is_max_event_bytes_as_encoded(void **state)
{
    enum { MOST = 6000 };
    static uint8_t data[MOST + 1];
    ensign_publisher_desc_t d = to_weather();
    size_t bound, fits = 0;
    char text[2][48];
    ensi_pub_t *p;
    (void)state;
    d.buffer_bytes = d.window_bytes = d.max_reply_bytes = 1024;
    d.max_event_bytes = MOST;
    d.max_in_flight = 10;
    bound = ensign_publisher_memory_bound(&d);
    client->env.mem.limit = client->env.mem.used + bound; /* one byte more is E_MEMORY */
    p = open_with(&d);
    for (size_t n = MOST - 100; n <= MOST; n++) {
        int rc = put(p, "weather", data, n, n);
        if (rc == ENSIGN_E_TOO_LARGE) break;
        assert_int_equal(rc, fits ? ENSIGN_AGAIN : ENSIGN_OK); /* the ring is empty for the first one alone */
        fits = n;
    }
    assert_in_range(fits, MOST - 100, MOST - 1);
    snprintf(text[0], sizeof text[0], "%lu bytes", MOST + 1ul);
    snprintf(text[1], sizeof text[1], "max_event_bytes allows %lu", (unsigned long)MOST);
    assert_non_null(strstr(ensign_error(client)->text, text[0])); /* a byte over */
    assert_non_null(strstr(ensign_error(client)->text, "as encoded"));
    assert_non_null(strstr(ensign_error(client)->text, text[1]));
    assert_int_equal(p->put, 1);
    up(p);
    take(p, 20000);
    ack_of(p, 0);
    assert_int_equal(put(p, "weather", data, MOST + 1, 1), ENSIGN_E_TOO_LARGE); /* by its data alone */
    assert_non_null(strstr(ensign_error(client)->text, "data of 6001 bytes"));
    assert_non_null(strstr(ensign_error(client)->text, text[1]));
    assert_int_equal(p->put, 1);
    assert_int_equal(put(p, "weather", data, fits, 1), ENSIGN_OK);
    assert_int_equal(p->cap, MOST + ENSI_GRPC_PREFIX + strlen("weather"));
    d.max_event_bytes = 0;
    assert_int_equal(ensign_publisher_memory_bound(&d) - bound, ENSI_SERVER_MESSAGE_MAX - MOST);
    d.max_event_bytes = 1024;
    d.buffer_bytes = 100000; /* then the ring is what counts */
    bound = ensign_publisher_memory_bound(&d);
    d.max_event_bytes = 50000;
    assert_int_equal(ensign_publisher_memory_bound(&d), bound);
}

/* ---------------------------------------------------------------- closing */

static void close_sends_the_rest_after_goaway(void **state)
{
    ensi_pub_t *p = open_weather();
    (void)state;
    up(p);
    expect(p, ENSIGN_NOTICE_OPEN);
    go_away(p);
    assert_int_equal(p->state, ENSI_PUB_HALF);
    assert_int_equal(put(p, NULL, "a", 1, 1), ENSIGN_OK);
    close_in(p, 60000);
    ensi_pub_serve(client, &p->h);
    ended(p, 0);
    assert_null(next(p)); /* accepted, so it goes on the next connection */
    pass(p, 1);
    up(p);
    assert_true(take(p, 1000) > 0);
    ack_of(p, 0);
    expect(p, ENSIGN_NOTICE_OPEN);
    expect(p, ENSIGN_NOTICE_ACK);
    assert_int_equal(p->state, ENSI_PUB_HALF);
    ended(p, 0);
    assert_null(expect(p, ENSIGN_NOTICE_END)->error);
}

static void close_does_not_wait_for_a_stream_that_is_not_needed(void **state)
{
    ensi_pub_t *p = open_weather();
    (void)state;
    up(p);
    expect(p, ENSIGN_NOTICE_OPEN);
    assert_int_equal(put(p, NULL, "a", 1, 1), ENSIGN_OK);
    ensi_pub_serve(client, &p->h);
    take(p, 1000);
    ack_of(p, 0);
    cut(p);
    pass(p, 100000);
    assert_int_equal(p->state, ENSI_PUB_OPENING);
    close_in(p, ENSIGN_FOREVER);
    ensi_pub_serve(client, &p->h);
    assert_int_equal(p->state, ENSI_PUB_ENDED); /* and with it goes what it waited for */
    expect(p, ENSIGN_NOTICE_ACK);
    assert_null(expect(p, ENSIGN_NOTICE_END)->error);
}

static void finished_in_every_state_each_event_has_its_answer(void **state)
{
    static uint8_t data[1000];
    static const int states[] = { ENSI_PUB_WAIT, ENSI_PUB_OPENING, ENSI_PUB_READY, ENSI_PUB_DRAINING,
                                  ENSI_PUB_HALF };
    ensign_publisher_desc_t d = to_weather();
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(states); i++) {
        ensi_pub_t *p = open_with(&d);
        const ensign_notice_t *n;
        size_t answers = 0;
        up(p);
        for (uint64_t tag = 0; tag < 5; tag++) assert_int_equal(put(p, NULL, data, 300, tag), ENSIGN_OK);
        ensi_pub_serve(client, &p->h);
        take(p, states[i] == ENSI_PUB_HALF ? 700 : 1000); /* HALF: two whole ones and no part */
        while (states[i] == ENSI_PUB_HALF && p->partial) take(p, 1);
        ack_of(p, 0);
        if (states[i] <= ENSI_PUB_OPENING) cut(p);
        if (states[i] == ENSI_PUB_OPENING) pass(p, 100000);
        if (states[i] >= ENSI_PUB_DRAINING) go_away(p);
        ensi_pub_serve(client, &p->h);
        while (states[i] == ENSI_PUB_HALF && p->done < p->sent) ack_of(p, p->done);
        assert_int_equal(p->state, states[i]);
        close_in(p, 0);
        pass(p, 1);
        assert_int_equal(p->state, ENSI_PUB_ENDED);
        while ((n = next(p)) != NULL && n->type != ENSIGN_NOTICE_END)
            answers += n->type == ENSIGN_NOTICE_ACK || n->type == ENSIGN_NOTICE_NACK;
        assert_non_null(n);
        assert_int_equal(answers, 5);
    }
}

/* ---------------------------------------------------------------- servers that misbehave */

static void answers_to_what_was_not_sent_here_end_the_stream(void **state)
{
    ensi_pub_t *p = open_weather();
    (void)state;
    up(p);
    assert_int_equal(put(p, NULL, "a", 1, 1), ENSIGN_OK);
    ensi_pub_serve(client, &p->h);
    ack_of(p, 0); /* not yet sent */
    assert_int_equal(p->state, ENSI_PUB_WAIT);
    assert_int_equal(p->done, 0);
    pass(p, 100000);
    up(p);
    take(p, 1000);
    cut(p);
    pass(p, 100000);
    submit(p);
    ready(p);
    ack_of(p, 0); /* sent on an earlier stream, not on this one */
    assert_int_equal(p->state, ENSI_PUB_WAIT);
    assert_int_equal(p->done, 0);
    pass(p, 100000);
    up(p);
    ready(p); /* a second ready */
    assert_int_equal(p->state, ENSI_PUB_WAIT);
}

/* Reopening never helps here, and nobody would be told. */
static void a_map_that_is_too_large_ends_the_publisher(void **state)
{
    static uint8_t map[2000];
    ensign_publisher_desc_t d = to_weather();
    const ensign_notice_t *n;
    ensi_pub_t *p;
    (void)state;
    d.max_reply_bytes = 1024;
    p = open_with(&d);
    assert_int_equal(put(p, NULL, "a", 1, 1), ENSIGN_OK);
    submit(p);
    feed(p, map, sizeof map);
    assert_int_equal(p->state, ENSI_PUB_ENDED);
    n = expect(p, ENSIGN_NOTICE_NACK);
    assert_int_equal(n->as.nack.code, ENSIGN_NACK_NOT_SENT);
    n = expect(p, ENSIGN_NOTICE_END);
    assert_int_equal(n->error->code, ENSIGN_E_TOO_LARGE);
    assert_non_null(strstr(n->error->text, "2000"));
    assert_non_null(strstr(n->error->text, "max_reply_bytes allows 1024"));
}

/* Memory that stays away: the stream fails, the next one waits longer, and the pump comes to an end. */
static void no_memory_for_a_reply_is_a_failure_with_a_backoff(void **state)
{
    static uint8_t map[1000] = { 0x1A, 0xE5, 7, 0x1A, 0xE2, 7 }; /* ready { topics: one that is none } */
    uint8_t prefix[ENSI_GRPC_PREFIX];
    ensi_pub_t *p = open_weather();
    (void)state;
    map[6] = 0x12;
    map[7] = 0xDF;
    map[8] = 7;
    submit(p);
    p->call.s.carrier = &client->conn->h2;
    ensi_grpc_prefix(prefix, 500000, false);
    bare_store(&p->call, prefix, sizeof prefix);
    no_memory = true;
    ensi_stream_touch(&p->call.s);
    ensi_client_touched(client);
    assert_int_equal(p->state, ENSI_PUB_WAIT);
    assert_int_equal(p->reopen.backoff.failures, 1);
    assert_null(client->calls.touched.first);
    no_memory = false;
    pass(p, 100000);
    submit(p);
    no_memory = true;
    feed(p, map, sizeof map); /* none for the map of topics */
    assert_int_equal(p->state, ENSI_PUB_WAIT);
    assert_int_equal(p->reopen.backoff.failures, 2);
    assert_int_equal(p->call.fault.code, ENSIGN_E_MEMORY);
    no_memory = false;
    pass(p, 100000);
    up(p);
}

static int still_there;             /* allocations, from `hook_some` */

static void *hook_some(void *user, void *old, size_t size)
{
    if (size > 0 && still_there == 0) return NULL;
    if (size > 0 && still_there > 0) still_there--;
    return hook(user, old, size);
}

/* Each part of a question may find no memory, and no small block be kept: nothing is leaked or lost, and it
 * is asked later. */
static void no_memory_to_ask_for_a_topic_asks_later(void **state)
{
    ensi_mem_t *m = &client->env.mem;
    int later = 0;
    (void)state;
    m->alloc = hook_some;
    for (int have = 0; have < 6; have++) {
        void *kept[ENSI_MEM_KEEP];
        size_t count = 0;
        ensi_pub_t *p;
        still_there = -1;
        p = open_weather();
        up(p);
        assert_int_equal(put(p, "elsewhere", "a", 1, 1), ENSIGN_OK);
        while (m->small) kept[count++] = ensi_mem_take(m, 1);
        still_there = have;
        ensi_pub_serve(client, &p->h);
        still_there = -1;
        while (count > 0) ensi_mem_free(m, kept[--count]);
        if (!p->asker.asking) {
            later++;
            assert_int_equal(p->ask_backoff.failures, 1);
            assert_int_equal(p->done, 0);
            pass(p, 100000);
        }
        assert_true(p->asker.asking);
        ensign_forget(client, p->h.id);
    }
    assert_in_range(later, 3, 5); /* the question, its call, its request */
}

static void each_ready_forgives_a_refused_token(void **state)
{
    ensi_pub_t *p = open_weather();
    (void)state;
    refuse(p, ENSIGN_GRPC_UNAUTHENTICATED);
    up(p);
    cut(p);
    pass(p, 100000);
    refuse(p, ENSIGN_GRPC_UNAUTHENTICATED); /* the token was good in between */
    submit(p);
    ended(p, ENSIGN_GRPC_UNAUTHENTICATED);
    assert_int_equal(p->state, ENSI_PUB_ENDED);
}

static void an_empty_project_forgives_a_refused_token(void **state)
{
    ensi_pub_t *p = open_weather();
    (void)state;
    refuse(p, ENSIGN_GRPC_UNAUTHENTICATED);
    submit(p);
    ended(p, ENSIGN_GRPC_FAILED_PRECONDITION);
    assert_true(p->reopen.parked);
    assert_int_equal(put(p, NULL, "early", 5, 1), ENSIGN_OK);
    ensi_pub_serve(client, &p->h);
    submit(p);
    ended(p, ENSIGN_GRPC_UNAUTHENTICATED); /* the token was good in between */
    assert_int_equal(p->state, ENSI_PUB_WAIT);
}

/* A publisher with nothing to do must not drag an old failure along: give_up counts without a break. */
static void a_stream_that_stands_is_calm_again(void **state)
{
    ensi_pub_t *p = open_weather();
    (void)state;
    refuse(p, ENSIGN_GRPC_UNAVAILABLE);
    up(p);
    pass(p, 29999);
    assert_int_equal(p->reopen.backoff.failures, 1);
    pass(p, 1);
    assert_int_equal(p->reopen.backoff.failures, 0);
    assert_int_equal(ensi_pub_due(&p->h), UINT64_MAX);
}

/* An answer is what a stream is for: what failed before it does not count any more, nor wait longer. */
static void an_answer_ends_the_row_of_failures(void **state)
{
    (void)state;
    for (int acked = 0; acked < 2; acked++) {
        ensi_pub_t *p = open_weather();
        uint8_t id[ENSI_PUB_LOCAL_ID];
        for (int i = 1; i <= 3; i++) {
            submit(p);
            ended(p, ENSIGN_GRPC_UNAVAILABLE);
            assert_int_equal(p->reopen.backoff.failures, i);
            pass(p, 100000);
        }
        up(p);
        expect(p, ENSIGN_NOTICE_OPEN);
        assert_int_equal(put(p, NULL, "a", 1, 1), ENSIGN_OK);
        ensi_pub_serve(client, &p->h);
        take(p, 1000);
        id_of(p, 0, id);
        if (acked) ack(p, id);
        else nack(p, id, 9);
        assert_int_equal(p->h.give_up.state, ENSI_TIMER_OFF);
        ended(p, ENSIGN_GRPC_UNAVAILABLE);
        assert_int_equal(expect(p, ENSIGN_NOTICE_WAITING)->as.waiting.failures, 1);
    }
}

static void a_server_that_owes_something_is_given_up(void **state)
{
    static uint8_t data[4000];
    ensign_publisher_desc_t d = to_weather();
    ensi_pub_t *p;
    (void)state;
    d.ack_timeout_ms = 1000;
    p = open_with(&d);
    client->open_timeout_ms = 1000;
    submit(p);
    pass(p, 999);
    assert_int_equal(p->state, ENSI_PUB_OPENING);
    pass(p, 2); /* no ready */
    assert_int_equal(p->state, ENSI_PUB_WAIT);
    pass(p, 100000);
    up(p);
    pass(p, 100000);
    assert_int_equal(p->state, ENSI_PUB_READY); /* it owes nothing */
    assert_int_equal(put(p, NULL, data, sizeof data, 1), ENSIGN_OK);
    ensi_pub_serve(client, &p->h);
    for (int i = 0; i < 6; i++) { /* slow, but it goes on */
        assert_int_equal(take(p, 500), 500);
        pass(p, 900);
        assert_int_equal(p->state, ENSI_PUB_READY);
    }
    pass(p, 200); /* it has stopped in the middle */
    assert_int_equal(p->state, ENSI_PUB_WAIT);
    assert_int_equal(p->done, 0);
    pass(p, 100000);
    up(p);
    assert_true(take(p, 10000) > 4000);
    ack_of(p, 0);
    close_in(p, ENSIGN_FOREVER);
    ensi_pub_serve(client, &p->h);
    assert_int_equal(p->state, ENSI_PUB_HALF);
    pass(p, 1001); /* no trailers */
    assert_int_equal(p->state, ENSI_PUB_ENDED);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_legal_moves),
        BARE_TEST(the_ring_against_a_model),
        BARE_TEST(the_ring_ends_where_the_oldest_event_begins),
        BARE_TEST(a_lent_nack_gives_way_to_room),
        BARE_TEST(a_ring_that_cannot_shrink_still_serves),
        BARE_TEST(half_handed_over_is_not_sent),
        BARE_TEST(a_nack_names_the_topic_or_says_that_an_id_was_given),
        BARE_TEST(the_words_of_a_nack_are_not_cut),
        BARE_TEST(a_nack_never_tells_the_words_of_another),
        BARE_TEST(a_refused_key_is_what_the_nack_tells),
        BARE_TEST(open_tells_the_topics_and_whether_its_own_is_there),
        BARE_TEST(the_topics_of_open_stand_while_another_map_comes),
        BARE_TEST(forwarding_an_event_is_one_assignment),
        BARE_TEST(a_nacked_event_can_be_published_as_it_is),
        BARE_TEST(encryption_and_compression_are_messages),
        BARE_TEST(max_event_bytes_has_bounds),
        BARE_TEST(the_largest_event_is_max_event_bytes_as_encoded),
        BARE_TEST(close_sends_the_rest_after_goaway),
        BARE_TEST(close_does_not_wait_for_a_stream_that_is_not_needed),
        BARE_TEST(finished_in_every_state_each_event_has_its_answer),
        BARE_TEST(answers_to_what_was_not_sent_here_end_the_stream),
        BARE_TEST(a_map_that_is_too_large_ends_the_publisher),
        BARE_TEST(no_memory_for_a_reply_is_a_failure_with_a_backoff),
        BARE_TEST(no_memory_to_ask_for_a_topic_asks_later),
        BARE_TEST(each_ready_forgives_a_refused_token),
        BARE_TEST(an_empty_project_forgives_a_refused_token),
        BARE_TEST(a_stream_that_stands_is_calm_again),
        BARE_TEST(an_answer_ends_the_row_of_failures),
        BARE_TEST(a_server_that_owes_something_is_given_up),
    };
    return cmocka_run_group_tests_name("pub", tests, NULL, NULL);
}
