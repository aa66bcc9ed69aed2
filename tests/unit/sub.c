/* sub.c - the subscription: its moves, its ring of acks against a model, gaps and events in one buffer */
#include "bare.h"

static int setup(void **state)
{
    ensign_desc_t d = bare_desc();
    (void)state;
    return bare_setup(&d);
}

static ensi_sub_t *open_desc(const ensign_subscription_desc_t *d)
{
    ensign_subscription_t s = ensign_subscription_open(client, d);
    assert_int_not_equal(s.id, 0);
    return (ensi_sub_t *)(void *)ensi_handle_find(&client->handles, s.id);
}

static ensi_sub_t *open_with(uint32_t window, uint32_t max_event, uint32_t max_unacked)
{
    ensign_subscription_desc_t d;
    memset(&d, 0, sizeof d);
    d.window_bytes = window;
    d.max_event_bytes = max_event;
    d.max_unacked = max_unacked;
    return open_desc(&d);
}

/* ---------------------------------------------------------------- a server without a wire */

static size_t take(ensi_sub_t *s, uint8_t *out, size_t cap)
{
    return bare_take(&s->call, out, cap);
}

static void submit(ensi_sub_t *s)
{
    ensi_sub_serve(client, &s->h);
    assert_int_equal(s->state, ENSI_SUB_OPENING);
    bare_submit(&s->call);
    s->call.s.headers_sent = s->call.s.headers_done = true;
    bare_take(&s->call, NULL, 256);
}

static void store(ensi_sub_t *s, const uint8_t *bytes, size_t len)
{
    bare_store(&s->call, bytes, len);
}

static void message(ensi_sub_t *s, const uint8_t *bytes, size_t len)
{
    bare_message(&s->call, bytes, len);
}

static void serve(ensi_sub_t *s)
{
    ensi_sub_serve(client, &s->h);
}

static void ready(ensi_sub_t *s)
{
    static const uint8_t map[] = "\x12\x1d\x1a\x1b\x0a\x07weather\x12\x10weather-id-16byt";
    message(s, map, sizeof map - 1);
    serve(s);
}

static void up(ensi_sub_t *s)
{
    submit(s);
    ready(s);
    assert_int_equal(s->state, ENSI_SUB_READY);
}

/* Number n as an event of about `size` bytes; with `odd` its event stands behind an empty close_stream. */
static void deliver(ensi_sub_t *s, uint32_t n, size_t size, bool odd)
{
    static uint8_t data[8192], wire[8192 + 128], whole[8192 + 128];
    ensi_pb_event_t e;
    ensi_pb_subscribe_reply_t m;
    uint8_t id[10] = { 0 }, inner[8192 + 64];
    size_t len = 0;
    memset(&e, 0, sizeof e);
    memset(&m, 0, sizeof m);
    memset(data, (int)(n & 0xFF), size);
    ensi_put_be32(id + 6, n);
    e.data = ensi_slice(data, size);
    assert_true(ensi_pb_encode(ensi_pb_event_fields, &e, inner, sizeof inner, &len));
    m.has_event = true;
    m.event.id = ensi_slice(id, sizeof id);
    m.event.topic_id = ensi_slice("weather-id-16byt", 16);
    m.event.event = ensi_slice(inner, len);
    assert_true(ensi_pb_encode(ensi_pb_subscribe_reply_fields, &m, wire, sizeof wire, &len));
    memcpy(whole, "\x1a\x00", 2);
    memcpy(whole + 2, wire, len);
    if (odd) message(s, whole, len + 2);
    else message(s, wire, len);
}

static void cut(ensi_sub_t *s)
{
    bare_cut(&s->call);
    serve(s);
}

static void pass(ensi_sub_t *s, uint32_t ms)
{
    bare_pass(&s->h, ms);
    serve(s);
}

static void again(ensi_sub_t *s)
{
    cut(s);
    pass(s, 100000);
    up(s);
}

static const ensign_notice_t *next(ensi_sub_t *s)
{
    const ensign_notice_t *n;
    do n = ensign_next_of(client, s->h.id);
    while (n && n->type == ENSIGN_NOTICE_OPEN);
    return n;
}

static uint32_t number(const ensign_notice_t *n)
{
    return ensi_get_be32(n->as.event->id.b + 6);
}

static uint64_t expect_event(ensi_sub_t *s, uint32_t want)
{
    const ensign_notice_t *n = next(s);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_EVENT);
    assert_int_equal(number(n), want);
    for (size_t i = 0; i < n->as.event->data.len; i++)
        assert_int_equal(n->as.event->data.ptr[i], want & 0xFF);
    assert_true(ensi_slice_is(n->as.event->topic_name, "weather"));
    return n->as.event->token;
}

static void expect_gap(ensi_sub_t *s, int code, uint32_t times)
{
    const ensign_notice_t *n = next(s);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_GAP);
    assert_int_equal(n->error->code, code);
    assert_int_equal(n->as.gap.times, times);
}

static const ensign_notice_t *expect_end(ensi_sub_t *s, int code, int status, uint64_t count)
{
    const ensign_notice_t *n = next(s);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_END);
    assert_true(n->last);
    assert_int_equal(n->error ? n->error->code : 0, code);
    assert_int_equal(n->as.end.status, status);
    assert_int_equal(n->as.end.count, count);
    return n;
}

static int answer(ensi_sub_t *s, uint64_t token, int nack)
{
    ensign_subscription_t handle;
    handle.id = s->h.id;
    return nack ? ensign_nack(client, handle, token, nack) : ensign_ack(client, handle, token);
}

/* ---------------------------------------------------------------- moves */

static void only_legal_moves(void **state)
{
    static const int8_t to[ENSI_SUB_STATES][ENSI_SUB_INPUTS] = {
        /*            open ready lost end */
        /* WAIT    */ { 1, -1, -1, 3 },
        /* OPENING */ { -1, 2, 0, 3 },
        /* READY   */ { -1, -1, 0, 3 },
        /* ENDED   */ { -1, -1, -1, -1 },
    };
    (void)state;
    CHECK_MOVES(ensi_sub_t, ensi_sub_state_t, ensi_sub_in_t, ensi_sub_move, to);
}

/* ---------------------------------------------------------------- acks */

enum { UNACKED = 150, TOKENS = 8192 };
typedef struct { uint64_t token; int state, code; } given_t; /* state: an ensi_ack_state_t that is not sent */
static given_t given[TOKENS];
static uint32_t given_count, fresh;
static size_t cut_rest; /* bytes of a cut answer that are still to come */

/* The next ack that the model wants: the oldest that is in the ring. */
static given_t *oldest(void)
{
    uint32_t from = given_count > UNACKED ? given_count - UNACKED : 0;
    for (uint32_t i = from > fresh ? from : fresh; i < given_count; i++)
        if (given[i].state != ENSI_ACK_NONE) return &given[i];
    return NULL;
}

static void check_acks(const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ensi_pb_subscribe_request_t m;
        size_t total = ENSI_GRPC_PREFIX + ensi_get_be32(bytes + 1);
        assert_true(total <= len);
        assert_true(ensi_pb_decode(ensi_pb_subscribe_request_fields, &m, bytes + ENSI_GRPC_PREFIX,
                                   total - ENSI_GRPC_PREFIX));
        assert_int_equal(m.has_ack + m.has_nack, 1);
        if (m.has_nack) assert_int_equal(m.nack.code, 100);
        bytes += total;
        len -= total;
    }
}

/* What a read gave is what the model says, in its order. An answer that was cut lies whole in s->cut, and the
 * next read begins with its rest. */
static void model_sent(const ensi_sub_t *s, const uint8_t *out, size_t n)
{
    const uint8_t *at = out + (cut_rest < n ? cut_rest : n), *end = out + n;
    cut_rest -= (size_t)(at - out);
    while (at < end) {
        bool cut = s->cut_at < s->cut_len && (size_t)(end - at) == s->cut_at;
        const uint8_t *whole = cut ? s->cut : at;
        size_t total = ENSI_GRPC_PREFIX + ensi_get_be32(whole + 1);
        ensi_pb_subscribe_request_t m;
        given_t *g = oldest();
        assert_non_null(g);
        if (cut) assert_memory_equal(at, s->cut, s->cut_at);
        if (cut) cut_rest = total - s->cut_at;
        assert_true(ensi_pb_decode(ensi_pb_subscribe_request_fields, &m, whole + ENSI_GRPC_PREFIX,
                                   total - ENSI_GRPC_PREFIX));
        assert_int_equal(m.has_ack, g->state == ENSI_ACK_ACK);
        assert_int_equal(ensi_get_be32((m.has_ack ? m.ack.id.ptr : m.nack.id.ptr) + 6), g - given);
        if (m.has_nack) assert_int_equal(m.nack.code, g->code);
        g->state = ENSI_ACK_NONE;
        at = cut ? end : at + total;
    }
}

static void the_ring_of_acks_against_a_model(void **state)
{
    ensi_sub_t *s = open_with(0, 0, UNACKED);
    uint8_t out[4096];
    (void)state;
    given_count = fresh = 0;
    up(s);
    take(s, out, sizeof out);
    while (given_count < TOKENS) {
        uint32_t op = below(100);
        if (op < 45) {
            ensign_rlid_t id;
            memset(&id, 0, sizeof id);
            ensi_put_be32(id.b + 6, given_count);
            given[given_count].state = ENSI_ACK_NONE;
            given[given_count].token = ensi_sub_next_token(&client->env.mem, s, &id);
            assert_int_equal(given[given_count].token, given_count + 1);
            given_count++;
        } else if (op < 90 && given_count > 0) {
            uint32_t back = below(below(3) ? 8 : 2 * UNACKED);
            uint32_t i = back < given_count ? given_count - 1 - back : 0;
            bool good = i >= fresh && given_count - i <= UNACKED;
            int code = below(3) ? 0 : 100 + (int)below(6);
            assert_int_equal(answer(s, given[i].token, code), good ? ENSIGN_OK : ENSIGN_E_STALE);
            if (!good) continue;
            given[i].state = code ? ENSI_ACK_NACK : ENSI_ACK_ACK;
            given[i].code = code;
        } else if (op < 97) {
            size_t n = take(s, out, below(3) ? sizeof out : 1 + below(100));
            model_sent(s, out, n);
        } else if (op == 97) {
            ensi_sub_lose_acks(s); /* the stream is lost */
            fresh = given_count;
            cut_rest = 0;
        }
        {
            uint32_t unsent = 0, from = given_count > UNACKED ? given_count - UNACKED : 0;
            for (uint32_t i = from > fresh ? from : fresh; i < given_count; i++)
                unsent += given[i].state != ENSI_ACK_NONE;
            assert_int_equal(s->unsent, unsent);
        }
    }
    assert_int_equal(answer(s, 0, 0), ENSIGN_E_STALE);
    assert_int_equal(answer(s, UINT64_MAX, 0), ENSIGN_E_STALE);
    assert_int_equal(answer(s, s->given + 1, 0), ENSIGN_E_STALE);
}

/* More acks than a frame holds: nghttp2's next reads bring the rest. */
static void all_acks_go_out_without_a_further_event(void **state)
{
    ensi_sub_t *s = open_with(0, 0, 0);
    static uint8_t out[65536];
    size_t sent = 0, count = 0, n;
    (void)state;
    up(s);
    for (uint32_t i = 0; i < 1000; i++) deliver(s, i, 10, false);
    serve(s);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(answer(s, expect_event(s, i), i % 2 ? 100 : 0), ENSIGN_OK);
    do {
        serve(s);
        n = take(s, out + sent, 1000);
        sent += n;
    } while (n > 0);
    check_acks(out, sent);
    for (size_t at = 0; at < sent; at += ENSI_GRPC_PREFIX + ensi_get_be32(out + at + 1)) count++;
    assert_int_equal(count, 1000);
    assert_int_equal(s->unsent, 0);
}

/* What the user did not get to send on the lost stream must not spoil the counts of the next one. */
static void acks_of_a_lost_stream_are_forgotten(void **state)
{
    ensi_sub_t *s = open_with(0, 0, 4);
    uint64_t old, token;
    uint8_t out[256];
    (void)state;
    up(s);
    for (uint32_t i = 0; i < 4; i++) deliver(s, i, 10, false);
    serve(s);
    for (uint32_t i = 0; i < 4; i++) assert_int_equal(answer(s, old = expect_event(s, i), 0), ENSIGN_OK);
    again(s);
    expect_gap(s, ENSIGN_E_CLOSED, 1);
    assert_int_equal(answer(s, old, 0), ENSIGN_E_STALE);
    deliver(s, 4, 10, false);
    deliver(s, 5, 10, false);
    serve(s);
    token = expect_event(s, 4);
    assert_int_equal(answer(s, token, 0), ENSIGN_OK);
    expect_event(s, 5); /* its slot held an ack of the lost stream */
    assert_int_equal(s->unsent, 1);
    serve(s);
    assert_int_equal(take(s, out, sizeof out), ENSI_GRPC_PREFIX + 14);
    assert_int_equal(s->unsent, 0);
    assert_int_equal(out[ENSI_GRPC_PREFIX + 13], 4);
}

/* ---------------------------------------------------------------- gaps */

static void gaps_merge_and_keep_their_place(void **state)
{
    ensi_sub_t *s = open_with(4096, 1024, 0);
    (void)state;
    up(s);
    deliver(s, 1, 10, false);
    deliver(s, 2, 1500, false); /* too large, whole in the buffer, with others behind it */
    deliver(s, 3, 10, false);
    deliver(s, 4, 10, true);
    deliver(s, 5, 1100, false);
    serve(s);
    again(s);
    again(s);
    deliver(s, 6, 10, false);
    serve(s);
    expect_event(s, 1);
    expect_gap(s, ENSIGN_E_TOO_LARGE, 1);
    expect_event(s, 3);
    expect_event(s, 4);
    expect_gap(s, ENSIGN_E_CLOSED, 3); /* the breaks, which can have cost more than that one event */
    expect_event(s, 6);
    assert_null(next(s));
    again(s); /* the gap before was pulled: a new one */
    expect_gap(s, ENSIGN_E_CLOSED, 1);
    again(s);
    expect_gap(s, ENSIGN_E_CLOSED, 1);
    assert_null(next(s));
}

/* A gap behind an event in an unusual order of fields once counted itself into that event's last bytes. */
static void a_gap_behind_an_odd_event(void **state)
{
    ensi_sub_t *s = open_with(0, 0, 0);
    (void)state;
    up(s);
    again(s);
    deliver(s, 0x41, 100, true);
    serve(s);
    again(s);
    expect_gap(s, ENSIGN_E_CLOSED, 1);
    expect_event(s, 0x41);
    expect_gap(s, ENSIGN_E_CLOSED, 1);
    assert_null(next(s));
}

/* Random events, whole and cut, oversize ones, control messages and lost streams, against a list. */
static void a_random_stream_against_a_model(void **state)
{
    enum { LIST = 60000 };
    static uint32_t list[LIST]; /* numbers; 0: a gap, merged */
    static const uint8_t nothing[8192];
    uint32_t events = 0, count = 0, at = 0, at_max = 3000, parts = 0;
    (void)state;
    for (uint64_t run = 0; run < 6; run++) {
        ensi_sub_t *s = open_with(4096, run % 2 ? 1024 : 3000, 0);
        ensi_rx_t *r = &s->call.s.rx;
        const ensign_notice_t *n = NULL, *held = NULL;
        seed = run;
        count = at = events = 0;
        up(s);
        while (events < at_max || at < count) {
            uint32_t op = below(16), size = below(4) ? below(100) : below(3900);
            if (op < 8 && events < at_max && r->skip == 0 && s->state == ENSI_SUB_READY &&
                r->end + size + 200 + r->spare <= r->cap) {
                bool large;
                size_t before = r->end;
                events++;
                deliver(s, events, size, below(5) == 0);
                large = r->end - before > r->limit;
                if (!large) list[count++] = events;
                else if (count == at || list[count - 1] != 0) list[count++] = 0;
                if (large && below(2)) { /* a part of it comes later, and is dropped then */
                    size_t rest = below((uint32_t)(r->end - before - ENSI_GRPC_PREFIX));
                    r->end -= rest;
                    serve(s);
                    assert_int_equal(r->skip, rest);
                    store(s, nothing, rest);
                    parts++;
                }
                if (below(10) == 0) message(s, (const uint8_t *)"\x1a\x00", 2); /* close_stream */
                if (below(3)) serve(s);
            } else if (op == 8 && s->call.state == ENSI_GRPC_OPEN) {
                serve(s);
                cut(s);
                if (count == at || list[count - 1] != 0) list[count++] = 0;
                pass(s, 100000);
                up(s);
            } else {
                serve(s);
                n = next(s);
                if (!n) continue;
                held = n;
                assert_true(at < count);
                if (list[at] == 0) assert_int_equal(n->type, ENSIGN_NOTICE_GAP);
                else assert_int_equal(n->type, ENSIGN_NOTICE_EVENT);
                if (list[at] != 0) assert_int_equal(number(n), list[at]);
                at++;
            }
            assert_true(s->scan <= ensi_rx_waiting(r) && r->end <= r->cap);
            if (held && held->type == ENSIGN_NOTICE_EVENT) { /* stands, wherever the rest went */
                const ensign_event_t *e = held->as.event;
                for (size_t i = 0; i < e->data.len; i++)
                    assert_int_equal(e->data.ptr[i], ensi_get_be32(e->id.b + 6) & 0xFF);
            }
        }
        assert_null(next(s));
        assert_int_equal(ensign_forget(client, s->h.id), ENSIGN_OK);
    }
    assert_true(parts > 100);
}

/* ---------------------------------------------------------------- the topics of OPEN */

static const ensign_notice_t *expect_open(const ensi_sub_t *s, uint32_t topics, uint32_t missing)
{
    const ensign_notice_t *n = ensign_next_of(client, s->h.id);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_OPEN);
    assert_int_equal(n->as.open.topics, topics);
    assert_int_equal(n->as.open.missing, missing);
    return n;
}

static void expect_topic(const ensi_sub_t *s, int which, size_t *at, const char *name, const void *id)
{
    static const uint8_t zeros[16];
    ensign_slice_t got;
    ensign_ulid_t got_id;
    assert_true(ensign_open_next(client, s->h.id, which, at, &got, &got_id));
    assert_true(ensi_slice_is(got, name));
    assert_memory_equal(got_id.b, id ? id : zeros, 16);
}

static void expect_no_topic(const ensi_sub_t *s, int which, size_t at)
{
    ensign_slice_t name;
    ensign_ulid_t id;
    assert_false(ensign_open_next(client, s->h.id, which, &at, &name, &id));
}

static void open_tells_which_topics_are_missing(void **state)
{
    ensign_subscription_desc_t d;
    ensign_ulid_t there, absent;
    char text[2][27];
    const char *topics[5];
    ensi_sub_t *s;
    size_t at = 0;
    (void)state;
    memcpy(there.b, "weather-id-16byt", sizeof there.b);
    memcpy(absent.b, "nowhere-id-16byt", sizeof absent.b);
    ensign_ulid_text(there, text[0]);
    ensign_ulid_text(absent, text[1]);
    topics[0] = "wether";
    topics[1] = "weather";
    topics[2] = text[1];
    topics[3] = text[0];
    topics[4] = "made-later";
    memset(&d, 0, sizeof d);
    d.topics = topics;
    d.topic_count = 5;
    s = open_desc(&d);
    up(s);
    expect_no_topic(s, ENSIGN_OPEN_TOPICS, 0); /* before the notice there is nothing to walk */
    expect_open(s, 1, 3);
    expect_topic(s, ENSIGN_OPEN_TOPICS, &at, "weather", there.b);
    expect_no_topic(s, ENSIGN_OPEN_TOPICS, at);
    at = 0;
    expect_topic(s, ENSIGN_OPEN_MISSING, &at, "wether", NULL);
    expect_topic(s, ENSIGN_OPEN_MISSING, &at, "", absent.b);
    expect_topic(s, ENSIGN_OPEN_MISSING, &at, "made-later", NULL);
    expect_no_topic(s, ENSIGN_OPEN_MISSING, at);
    expect_no_topic(s, 0, 0);
    expect_no_topic(s, 3, 0);
    deliver(s, 1, 10, false);
    serve(s);
    expect_event(s, 1);
    expect_no_topic(s, ENSIGN_OPEN_TOPICS, 0);
    expect_no_topic(s, ENSIGN_OPEN_MISSING, 0);

    s = open_with(0, 0, 0); /* all topics are asked for: none can be missing */
    up(s);
    expect_open(s, 1, 0);
    expect_no_topic(s, ENSIGN_OPEN_MISSING, 0);
}

/* OPEN's topics, and an event's topic_name, stand while the stream is opened again with another map. */
static void a_map_stands_as_long_as_what_points_into_it(void **state)
{
    static const uint8_t traffic[] = "\x12\x1d\x1a\x1b\x0a\x07traffic\x12\x10traffic-id-16byt";
    ensi_sub_t *s = open_with(0, 0, 0);
    const ensign_notice_t *n;
    size_t at = 0;
    (void)state;
    up(s);
    expect_open(s, 1, 0);
    cut(s);
    pass(s, 100000);
    submit(s);
    message(s, traffic, sizeof traffic - 1);
    serve(s);
    expect_topic(s, ENSIGN_OPEN_TOPICS, &at, "weather", "weather-id-16byt");
    at = 0;
    assert_int_equal(expect_open(s, 1, 0)->as.open.times, 2);
    expect_topic(s, ENSIGN_OPEN_TOPICS, &at, "traffic", "traffic-id-16byt");
    expect_gap(s, ENSIGN_E_CLOSED, 1);
    again(s); /* "weather" anew */
    deliver(s, 1, 10, false);
    serve(s);
    expect_open(s, 1, 0);
    expect_gap(s, ENSIGN_E_CLOSED, 1);
    n = ensign_next_of(client, s->h.id);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_EVENT);
    cut(s);
    pass(s, 100000);
    submit(s);
    message(s, traffic, sizeof traffic - 1);
    serve(s);
    assert_true(ensi_slice_is(s->topics.entries ? ensi_topics_key(&s->topics, s->topics.by_name, 0)
                                                : ensi_slice(NULL, 0), "traffic"));
    assert_true(ensi_slice_is(n->as.event->topic_name, "weather"));
}

/* ---------------------------------------------------------------- ending */

static void close_sends_its_acks_and_gives_what_is_here(void **state)
{
    ensi_sub_t *s = open_with(0, 0, 0);
    uint8_t out[4096];
    uint64_t token;
    (void)state;
    up(s);
    for (uint32_t i = 1; i <= 3; i++) deliver(s, i, 10, false);
    serve(s);
    token = expect_event(s, 1);
    assert_int_equal(answer(s, token, 0), ENSIGN_OK);
    assert_int_equal(ensign_close(client, s->h.id, ENSIGN_FOREVER), ENSIGN_OK);
    serve(s);
    assert_int_equal(s->state, ENSI_SUB_READY); /* the ack has not gone out */
    assert_true(s->call.s.watched);             /* so that the read touches the stream again */
    assert_int_equal(take(s, out, sizeof out), ENSI_GRPC_PREFIX + 14);
    check_acks(out, ENSI_GRPC_PREFIX + 14);
    serve(s);
    assert_int_equal(s->state, ENSI_SUB_ENDED);
    assert_int_equal(answer(s, token, 0), ENSIGN_ENDED);
    expect_event(s, 2);
    assert_int_equal(ensign_close(client, s->h.id, 0), ENSIGN_OK); /* it has ended: nothing changes */
    expect_event(s, 3);
    expect_end(s, 0, ENSIGN_GRPC_OK, 3);
    assert_int_equal(ensign_close(client, s->h.id, 0), ENSIGN_E_HANDLE);
}

/* An ack that is given after close goes out too, as long as the stream stands. */
static void acks_go_out_until_the_stream_ends(void **state)
{
    ensi_sub_t *s = open_with(0, 0, 0);
    static uint8_t out[65536];
    uint64_t tokens[500];
    size_t sent = 0, n;
    (void)state;
    up(s);
    for (uint32_t i = 0; i < 500; i++) deliver(s, i, 10, false);
    serve(s);
    for (uint32_t i = 0; i < 500; i++) tokens[i] = expect_event(s, i);
    for (uint32_t i = 0; i < 499; i++) assert_int_equal(answer(s, tokens[i], 0), ENSIGN_OK);
    assert_int_equal(ensign_close(client, s->h.id, ENSIGN_FOREVER), ENSIGN_OK);
    serve(s);
    assert_int_equal(answer(s, tokens[499], 100), ENSIGN_OK);
    for (int reads = 0; s->state == ENSI_SUB_READY; reads++) {
        assert_true(reads < 100 && s->call.s.watched);
        n = take(s, out, sizeof out);
        check_acks(out, n);
        for (size_t at = 0; at < n; at += ENSI_GRPC_PREFIX + ensi_get_be32(out + at + 1)) sent++;
        serve(s);
    }
    assert_int_equal(sent, 500);
    expect_end(s, 0, ENSIGN_GRPC_OK, 500);
}

static void close_without_acks_or_a_stream_ends_at_once(void **state)
{
    ensi_sub_t *s = open_with(0, 0, 0);
    (void)state;
    up(s);
    deliver(s, 1, 10, false);
    serve(s);
    assert_int_equal(ensign_close(client, s->h.id, ENSIGN_FOREVER), ENSIGN_OK);
    serve(s);
    expect_event(s, 1);
    expect_end(s, 0, ENSIGN_GRPC_OK, 1);

    s = open_with(0, 0, 0); /* no stream yet */
    assert_int_equal(ensign_close(client, s->h.id, ENSIGN_FOREVER), ENSIGN_OK);
    serve(s);
    expect_end(s, 0, ENSIGN_GRPC_OK, 0);

    s = open_with(0, 0, 0); /* the stream is lost: the reason that it waits is no error of its end */
    up(s);
    deliver(s, 1, 10, false);
    serve(s);
    cut(s);
    assert_int_equal(ensign_close(client, s->h.id, ENSIGN_FOREVER), ENSIGN_OK);
    serve(s);
    expect_event(s, 1);
    expect_gap(s, ENSIGN_E_CLOSED, 1);
    expect_end(s, 0, ENSIGN_GRPC_OK, 1);
}

static void cancel_drops_what_was_not_pulled(void **state)
{
    ensi_sub_t *s = open_with(0, 0, 0);
    const ensign_notice_t *n;
    (void)state;
    up(s);
    for (uint32_t i = 1; i <= 3; i++) deliver(s, i, 100, false);
    serve(s);
    expect_event(s, 1);
    n = &s->h.notice;
    assert_int_equal(ensign_cancel(client, s->h.id), ENSIGN_OK);
    assert_int_equal(s->call.state, ENSI_GRPC_ENDED);
    assert_int_equal(number(n), 1); /* what stands is no matter of it */
    assert_int_equal(n->as.event->data.ptr[99], 1);
    assert_int_equal(ensign_cancel(client, s->h.id), ENSIGN_OK); /* it has ended: nothing changes */
    assert_non_null(strstr(expect_end(s, ENSIGN_E_CANCELLED, ENSIGN_GRPC_CANCELLED, 1)->error->text,
                           "cancelled by this program"));
    assert_int_equal(ensign_cancel(client, s->h.id), ENSIGN_E_HANDLE);
}

static void close_that_takes_too_long_is_cut_short(void **state)
{
    ensi_sub_t *s = open_with(0, 0, 0);
    (void)state;
    up(s);
    for (uint32_t i = 1; i <= 3; i++) deliver(s, i, 10, false);
    serve(s);
    assert_int_equal(answer(s, expect_event(s, 1), 0), ENSIGN_OK);
    assert_int_equal(ensign_close(client, s->h.id, 10), ENSIGN_OK);
    pass(s, 5);
    assert_int_equal(s->state, ENSI_SUB_READY); /* nobody reads the ack */
    assert_int_equal(ensign_close(client, s->h.id, 10), ENSIGN_OK); /* the time begins anew */
    pass(s, 9);
    assert_int_equal(s->state, ENSI_SUB_READY);
    pass(s, 1);
    assert_int_equal(s->state, ENSI_SUB_ENDED);
    expect_event(s, 2); /* what was here is given */
    expect_event(s, 3);
    assert_non_null(strstr(expect_end(s, ENSIGN_E_CANCELLED, ENSIGN_GRPC_CANCELLED, 3)->error->text,
                           "not ended within the time of ensign_close"));
}

/* ---------------------------------------------------------------- servers that misbehave */

static void a_map_that_is_too_large_ends_the_subscription(void **state)
{
    static uint8_t map[2000];
    ensi_sub_t *s = open_with(4096, 1024, 0);
    const ensign_notice_t *n;
    (void)state;
    submit(s);
    message(s, map, sizeof map);
    serve(s);
    assert_int_equal(s->state, ENSI_SUB_ENDED);
    n = next(s);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_END);
    assert_int_equal(n->error->code, ENSIGN_E_TOO_LARGE);
    assert_non_null(strstr(n->error->text, "max_event_bytes"));
}

static void an_event_before_ready_is_not_given(void **state)
{
    ensi_sub_t *s = open_with(0, 0, 0);
    const ensign_notice_t *n;
    (void)state;
    submit(s);
    deliver(s, 1, 10, true);
    serve(s);
    assert_int_equal(s->state, ENSI_SUB_WAIT);
    assert_int_equal(s->reopen.backoff.failures, 1);
    n = next(s);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_WAITING);
    assert_int_equal(n->error->code, ENSIGN_E_PROTOCOL);
    assert_int_equal(n->as.waiting.failures, 1);
    assert_null(next(s));
}

/* Memory that stays away: the stream fails, the next one waits longer, and the pump comes to an end. */
static void no_memory_is_a_failure_with_a_backoff(void **state)
{
    static uint8_t part[3000];
    ensi_sub_t *s = open_with(4096, 1 << 20, 0);
    (void)state;
    up(s);
    deliver(s, 1, 1000, false);
    serve(s);
    expect_event(s, 1);
    s->call.s.carrier = &client->conn->h2;
    ensi_grpc_prefix(part, 500000, false);
    store(s, part, sizeof part); /* it fits only into a second buffer */
    no_memory = true;
    ensi_stream_touch(&s->call.s);
    ensi_client_touched(client);
    assert_null(client->calls.touched.first);
    assert_int_equal(s->state, ENSI_SUB_WAIT);
    assert_int_equal(s->reopen.backoff.failures, 1);
    assert_int_equal(s->event.data.ptr[999], 1); /* the lent event stands */
    no_memory = false;
    pass(s, 100000);
    up(s);
    expect_gap(s, ENSIGN_E_MEMORY, 1);
}

/* Many small messages that are no events: each one moved all that was behind it. */
/* Real servers say ready first, and then that their broker does not run. */
static void a_stream_that_fails_behind_ready_backs_off(void **state)
{
    ensi_sub_t *s = open_with(4096, 4096, 4);
    (void)state;
    for (uint32_t i = 1; i <= 3; i++) {
        up(s);
        s->call.grpc_status = ENSIGN_GRPC_UNAVAILABLE;
        s->call.http_status = 200;
        s->call.grpc_content = s->call.s.ended = true;
        ensi_grpc_judge(&s->call);
        serve(s);
        assert_int_equal(s->state, ENSI_SUB_WAIT);
        assert_int_equal(s->reopen.backoff.failures, i);
        pass(s, 100000);
    }
    up(s);
    pass(s, 30000);
    assert_int_equal(s->reopen.backoff.failures, 0); /* it has stood long enough */
}

static void control_messages_cost_no_more_than_their_bytes(void **state)
{
    ensi_sub_t *s = open_with(1 << 20, 0, 0);
    (void)state;
    up(s);
    for (int i = 0; i < 200000; i++) message(s, NULL, 0);
    deliver(s, 1, 10, false);
    serve(s);
    expect_event(s, 1);
    assert_int_equal(s->state, ENSI_SUB_READY);
}

static void limits_of_the_desc(void **state)
{
    ensign_subscription_desc_t d;
    (void)state;
    memset(&d, 0, sizeof d);
    d.max_unacked = UINT32_MAX; /* its slots would overflow a size_t of 32 bits */
    assert_int_equal(ensign_subscription_open(client, &d).id, 0);
    assert_int_equal(ensign_error(client)->code, ENSIGN_E_ARGUMENT);
    assert_non_null(strstr(ensign_error(client)->text, "max_unacked"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_legal_moves),
        BARE_TEST(the_ring_of_acks_against_a_model),
        BARE_TEST(all_acks_go_out_without_a_further_event),
        BARE_TEST(acks_of_a_lost_stream_are_forgotten),
        BARE_TEST(gaps_merge_and_keep_their_place),
        BARE_TEST(a_gap_behind_an_odd_event),
        BARE_TEST(a_random_stream_against_a_model),
        BARE_TEST(open_tells_which_topics_are_missing),
        BARE_TEST(a_map_stands_as_long_as_what_points_into_it),
        BARE_TEST(close_sends_its_acks_and_gives_what_is_here),
        BARE_TEST(acks_go_out_until_the_stream_ends),
        BARE_TEST(close_without_acks_or_a_stream_ends_at_once),
        BARE_TEST(cancel_drops_what_was_not_pulled),
        BARE_TEST(close_that_takes_too_long_is_cut_short),
        BARE_TEST(a_map_that_is_too_large_ends_the_subscription),
        BARE_TEST(an_event_before_ready_is_not_given),
        BARE_TEST(no_memory_is_a_failure_with_a_backoff),
        BARE_TEST(control_messages_cost_no_more_than_their_bytes),
        BARE_TEST(a_stream_that_fails_behind_ready_backs_off),
        BARE_TEST(limits_of_the_desc),
    };
    return cmocka_run_group_tests_name("sub", tests, NULL, NULL);
}
