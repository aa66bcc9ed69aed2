/* Everything at once, at random: publishers, subscriptions and calls against a server that resets, refuses,
   stops and is cut off. Whatever happens: each event ends once, each handle ENDs once, messages and events
   come in order, nothing stalls and nothing leaks. */
#include "service.h"

enum { PUBS = 3, SUBS = 2, CALLS = 6, TAGS = 3000, STEPS = 6000 };

typedef struct pub_t {
    ensign_publisher_t h;
    bool open;
    uint64_t put;
    uint8_t answers[TAGS];
} pub_t;
typedef struct sub_t { ensign_subscription_t h; bool open, held; uint64_t last; } sub_t;
typedef struct rpc_t {
    ensign_call_t h;
    bool open, unary, half, stopped, after_stop;
    uint32_t sent, got;
} rpc_t;

static pub_t pubs[PUBS];
static sub_t subs[SUBS];
static rpc_t rpcs[CALLS];
static uint64_t delivered;          /* the number of the last event, over all streams */
static uint32_t ends, answered;
static size_t next_answer;
static bool calm;                   /* the server behaves */

/* ------------------------------------------------------------------ the server */
static void on_message(world_t *w, stream_t *s, ensign_slice_t m)
{
    const char *path = peer_field(s, ":path");
    if (s->done) return;
    if (strstr(path, "/Publish")) {
        service_publish(w, s, m);
    } else if (strstr(path, "/Subscribe")) {
        if (s->stage == 0) service_ready(s, 2);
        s->stage = 2;
    } else {
        peer_message(s, m.ptr, m.len);
        if (world_below(w, 3) == 0) s->pad = world_below(w, 100);
    }
}

static void on_half(world_t *w, stream_t *s)
{
    const char *path = peer_field(s, ":path");
    (void)w;
    if (s->done || strstr(path, "/Subscribe")) return;
    if (strstr(path, "/Publish")) service_close(s);
    else peer_finish(s, 0, NULL, "x-end", "1", NULL);
}

static void answer_some(world_t *w)
{
    for (; next_answer < service.count; next_answer++) {
        heard_t *h = &service.events[next_answer];
        if (!calm && world_below(w, 4) == 0) return;
        if (h->stream->closed || h->stream->done) continue;
        if (world_below(w, 10) == 0) service_nack(h->stream, h->id, 16, 9, "no");
        else service_ack(h->stream, h->id, 16, 1);
    }
}

static void deliver_some(world_t *w)
{
    static char data[3000];
    size_t i;
    for (i = 0; i < w->stream_count; i++) {
        stream_t *s = w->streams[i];
        if (s->stage != 2 || s->closed || s->done || world_below(w, 2)) continue;
        service_deliver(s, ++delivered, data, world_below(w, world_below(w, 5) ? 50 : sizeof data));
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
static void open_something(world_t *w)
{
    uint32_t i = world_below(w, CALLS);
    if (!rpcs[i].open) {
        ensign_call_desc_t d;
        memset(&d, 0, sizeof d);
        memset(&rpcs[i], 0, sizeof rpcs[i]);
        d.method = "/test.Service/Echo";
        d.wait_for_ready = world_below(w, 2) != 0;
        d.unary = rpcs[i].unary = world_below(w, 3) == 0;
        d.request = slice_of("\0\0\0\0once", 8);
        if (!d.unary) d.request.len = 0;
        d.window_bytes = 1024u << world_below(w, 7);
        d.deadline_ms = world_below(w, 4) == 0 ? 1 + world_below(w, 3000) : 0;
        d.user = &rpcs[i];
        rpcs[i].h = ensign_call_open(w->client, &d);
        rpcs[i].open = rpcs[i].h.id != 0;
        rpcs[i].half = rpcs[i].unary;
        if (!rpcs[i].open && !w->fault) world_fail(w, "no call");
    }
    i %= PUBS;
    if (!pubs[i].open && pubs[i].put == 0) {
        ensign_publisher_desc_t d;
        memset(&d, 0, sizeof d);
        d.topic = "weather";
        d.buffer_bytes = 8192;
        d.max_in_flight = 8 + world_below(w, 100);
        d.ack_timeout_ms = 1000 + world_below(w, 5000);
        d.user = &pubs[i];
        pubs[i].h = ensign_publisher_open(w->client, &d);
        pubs[i].open = pubs[i].h.id != 0;
    }
    i %= SUBS;
    if (!subs[i].open) {
        ensign_subscription_desc_t d;
        memset(&d, 0, sizeof d);
        d.window_bytes = 2048;
        d.user = &subs[i];
        subs[i].h = ensign_subscribe(w->client, &d);
        subs[i].open = subs[i].h.id != 0;
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
        rc = ensign_call_cancel(w->client, k->h);
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
    int rc;
    if (!p->open || p->put >= TAGS) return;
    memset(&e, 0, sizeof e);
    e.data = slice_of(data, world_below(w, world_below(w, 6) ? 60 : sizeof data));
    e.tag = p->put;
    if (world_below(w, 30) == 0) e.topic = "nowhere";
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
    if (n->type != ENSIGN_NOTICE_END) return;
    assert_true(n->last);
    if (k->after_stop)
        assert_int_not_equal(n->as.end.status, ENSIGN_GRPC_CANCELLED); /* END did wait already */
    assert_int_equal(n->error == NULL, n->as.end.status == ENSIGN_GRPC_OK);
    if (n->as.end.status == ENSIGN_GRPC_OK && k->unary) assert_int_equal(k->got, 1);
    k->open = false;
    ends++;
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

static void pull_some(world_t *w, uint32_t count)
{
    const ensign_notice_t *n;
    while (count-- && (n = world_pull(w, 0)) != NULL) {
        const uint8_t *u = (const uint8_t *)n->user;
        if (n->handle == ENSIGN_CLIENT) continue;
        if (u >= (uint8_t *)rpcs && u < (uint8_t *)(rpcs + CALLS)) heard_call(w, (rpc_t *)n->user, n);
        else if (u >= (uint8_t *)pubs && u < (uint8_t *)(pubs + PUBS))
            heard_publisher(w, (pub_t *)n->user, n);
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
    else if (op < 92) world_round(w);
    else if (op < 94) world_pass(w, world_below(w, 300));
    else if (op < 96) misbehave(w);
    else if (op == 96 && s->open)
        assert_int_equal(ensign_hold(w->client, s->h.id, s->held = !s->held), ENSIGN_OK);
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
    assert_int_equal(ensign_close(w->client, 100000), ENSIGN_OK);
    for (i = 0; i < CALLS; i++) {
        if (rpcs[i].open) ensign_call_half_close(w->client, rpcs[i].h);
    }
    for (turns = 0; !w->client_closed; turns++) {
        if (turns > 100000) world_fail(w, "ensign_close does not come to its end");
        pull_some(w, 1000);
        answer_some(w);
        if (w->client_closed || world_round(w)) continue;
        w->waited_ms = 0;
        world_advance(w, "CLOSED");
    }
    for (i = 0; i < CALLS; i++) assert_false(rpcs[i].open);
    for (i = 0; i < PUBS; i++) assert_false(pubs[i].open);
    for (i = 0; i < SUBS; i++) assert_false(subs[i].open);
}

static void begin(world_t *w)
{
    service_reset();
    memset(pubs, 0, sizeof pubs);
    memset(subs, 0, sizeof subs);
    memset(rpcs, 0, sizeof rpcs);
    delivered = 0;
    next_answer = 0;
    ends = answered = 0;
    calm = false;
    w->on_message = on_message;
    w->on_half = on_half;
    w->desc.backoff_max_ms = 1000;
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
