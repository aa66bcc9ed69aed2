/* GOAWAY: a second connection takes over while the first one drains; nothing hangs, is lost or is silent. */
#include "calls.h"
#include "service.h"

static const char *const weather[] = { "weather" };
static const char sql[] = "SELECT * FROM weather";

/* ------------------------------------------------------------------ the server */
/* The last GOAWAY of a connection: it serves the streams that it has seen. */
static void last_goaway(conn_t *c, uint32_t code, const char *text)
{
    conn_goaway(c, nghttp2_session_get_last_proc_stream_id(c->session), code, text_slice(text));
}

static void goaway(world_t *w, uint32_t code, const char *text)
{
    assert_non_null(w->conn[ENSIGN_LINK_RPC]);
    last_goaway(w->conn[ENSIGN_LINK_RPC], code, text);
}

static bool path_ends(const stream_t *s, const char *end)
{
    const char *path = peer_field(s, ":path");
    return path && strlen(path) >= strlen(end) && strcmp(path + strlen(path) - strlen(end), end) == 0;
}

/* Publishers are heard, subscriptions and streaming calls are opened, unary calls are answered, queries and
 * watches are the test's. */
static void answer(world_t *w, stream_t *s, ensign_slice_t m)
{
    if (path_ends(s, "/Publish")) service_publish(w, s, m);
    else if (path_ends(s, "/Subscribe") && s->stage++ == 0) service_ready(s, 2);
    else if (path_ends(s, "/Unary")) {
        peer_message(s, "ok", 2);
        peer_finish(s, 0, NULL, NULL);
    } else if (path_ends(s, "/Stream")) {
        peer_message(s, "go", 2);
    }
}

static void half(world_t *w, stream_t *s)
{
    if (path_ends(s, "/Publish")) service_half(w, s);
}

static void serve(world_t *w, bool ack)
{
    service_reset();
    service.ack = ack;
    w->on_message = answer;
    w->on_half = half;
}

static unsigned running(const world_t *w)
{
    unsigned n = 0;
    for (int i = 0; i < ENSIGN_MAX_LINKS; i++) n += w->runs[i] && world_server(i) == ENSIGN_LINK_RPC;
    return n;
}

static size_t memory(world_t *w)
{
    ensign_stats_t s;
    assert_int_equal(ensign_stats(w->client, ENSIGN_CLIENT, &s), ENSIGN_OK);
    assert_int_equal(s.memory, w->live);
    return s.memory;
}

/* ------------------------------------------------------------------ the client */
static uint32_t unary_call(world_t *w)
{
    ensign_call_desc_t d = unary("ask");
    d.method = "/test.Service/Unary";
    return call(w, &d);
}

/* A unary call goes well, so that its connection has been of use. */
static void ask(world_t *w)
{
    uint32_t k = unary_call(w);
    assert_text(world_reply(w, k, ENSIGN_GRPC_OK)->as.reply.message, "ok");
}

/* A streaming call that the server has answered, and that goes on. */
static uint32_t long_call(world_t *w)
{
    ensign_call_desc_t d = streaming();
    uint32_t k;
    d.method = "/test.Service/Stream";
    d.request = text_slice("begin");
    k = call(w, &d);
    assert_text(world_await(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "go");
    return k;
}

/* The stream that a handle opened last, which is the newest. */
static stream_t *newest(const world_t *w)
{
    assert_true(w->stream_count > 0);
    return w->streams[w->stream_count - 1];
}

static ensign_publisher_t publisher(world_t *w, uint32_t ack_timeout_ms)
{
    ensign_publisher_desc_t d;
    ensign_publisher_t p;
    memset(&d, 0, sizeof d);
    d.topic = weather[0];
    d.ack_timeout_ms = ack_timeout_ms;
    d.buffer_bytes = 65536;
    p = ensign_publisher_open(w->client, &d);
    assert_int_not_equal(p.id, 0);
    return p;
}

static void put(world_t *w, ensign_publisher_t p, size_t from, size_t to)
{
    ensign_event_t e;
    char text[20];
    memset(&e, 0, sizeof e);
    for (; from < to; from++) {
        snprintf(text, sizeof text, "event %zu", from);
        e.data = text_slice(text);
        e.tag = from;
        assert_int_equal(ensign_publish(w->client, p, &e), ENSIGN_OK);
    }
}

static void expect_acks(world_t *w, ensign_publisher_t p, size_t from, size_t to)
{
    for (; from < to; from++) assert_int_equal(world_await(w, p.id, ENSIGN_NOTICE_ACK)->as.ack.tag, from);
}

/* The i-th event that was heard is this one, on that connection. */
static void expect_heard(world_t *w, size_t i, size_t number, unsigned conn)
{
    char text[20];
    heard_t *h = heard(w, i);
    snprintf(text, sizeof text, "event %zu", number);
    assert_text(heard_data(h), text);
    assert_int_equal(h->stream->conn->number, conn);
}

static uint32_t query(world_t *w)
{
    ensign_query_desc_t d;
    ensign_query_t q;
    memset(&d, 0, sizeof d);
    d.sql = sql;
    q = ensign_query_open(w->client, &d);
    assert_int_not_equal(q.id, 0);
    return q.id;
}

static void row(stream_t *s, const char *text)
{
    bytes_t event = {0}, m = {0};
    enc_bytes(&event, 2, text, strlen(text));
    enc_bytes(&m, 1, "0123456789", 10);
    enc_bytes(&m, 2, weather_id, 16);
    enc_message(&m, 9, &event);
    peer_send(s, &m);
}

static void expect_event(world_t *w, uint32_t handle, const char *text)
{
    assert_text(world_expect(w, handle, ENSIGN_NOTICE_EVENT)->as.event->data, text);
}

static void expect_end_of_goaway(world_t *w, uint32_t handle, const char *text)
{
    const ensign_notice_t *n = world_end(w, handle, ENSIGN_GRPC_UNAVAILABLE);
    assert_int_equal(n->error->code, ENSIGN_E_GOAWAY);
    if (!strstr(n->error->text, "GOAWAY") || !strstr(n->error->text, text))
        world_fail(w, "END without \"%s\": %s", text, n->error->text);
}

static void expect_goaway(world_t *w, uint32_t code, const char *text)
{
    const ensign_notice_t *n = world_expect(w, ENSIGN_CLIENT, ENSIGN_NOTICE_GOAWAY);
    assert_int_equal(n->error->code, ENSIGN_E_GOAWAY);
    assert_int_equal(n->error->native, code);
    if (!strstr(n->error->text, text)) world_fail(w, "GOAWAY without \"%s\": %s", text, n->error->text);
    assert_false(n->last);
}

/* ------------------------------------------------------------------ what runs and what is new */
SCRIPT(a_held_query_stops_no_publisher)
{
    ensign_publisher_t p;
    stream_t *s;
    uint32_t q;
    serve(w, true);
    world_create(w);
    q = query(w);
    s = world_stream(w, 0);
    row(s, "one");
    expect_event(w, q, "one");
    assert_int_equal(ensign_hold(w->client, q, true), ENSIGN_OK);
    row(s, "two");
    p = publisher(w, 0);
    put(w, p, 0, 3);
    expect_acks(w, p, 0, 3);
    goaway(w, NGHTTP2_NO_ERROR, "max_age");
    world_settle(w);
    put(w, p, 3, 63);
    expect_acks(w, p, 3, 63);
    for (size_t i = 3; i < 63; i++) expect_heard(w, i, i, 1);
    assert_int_equal(service.count, 63);
    assert_int_equal(s->conn->number, 0);
    row(s, "three");
    assert_int_equal(ensign_hold(w->client, q, false), ENSIGN_OK);
    expect_event(w, q, "two");
    expect_event(w, q, "three");
    peer_finish(s, 0, NULL, NULL);
    world_end(w, q, ENSIGN_GRPC_OK);
    world_settle(w);
    assert_int_equal(running(w), 1);
    world_hear(w);
    assert_int_equal(w->disconnected, 0);
    service_reset();
}

/* A server whose connections live for 2 s, as grpc-go with MaxConnectionAge: a first GOAWAY, then, 100 ms
 * later, the last one. */
static void age(world_t *w, uint64_t *born, unsigned *said)
{
    for (size_t i = 0; i < w->conn_count; i++) {
        conn_t *c = w->conns[i];
        uint64_t old = w->now - born[i];
        if (!born[i]) {
            born[i] = w->now;
        } else if (c->alive && said[i] == 0 && old >= 2000) {
            said[i]++;
            conn_goaway(c, INT32_MAX, NGHTTP2_NO_ERROR, text_slice(""));
        } else if (c->alive && said[i] == 1 && old >= 2100) {
            said[i]++;
            last_goaway(c, NGHTTP2_NO_ERROR, "max_age");
        }
    }
}

/* Unary calls go on for 20 s; what becomes of the streaming call is the test's. */
static void live(world_t *w, uint64_t *born, unsigned *said, unsigned ms)
{
    for (uint64_t end = w->now + ms; w->now < end; world_pass(w, 100)) {
        uint64_t begun = w->now;
        ask(w);
        assert_int_equal(w->now, begun);
        age(w, born, said);
        world_settle(w);
        assert_in_range(running(w), 1, 2);
        world_hear(w);
    }
    assert_int_equal(w->disconnected, 0);
}

SCRIPT(calls_go_on_over_many_connections)
{
    uint64_t born[WORLD_CONNS] = {0};
    unsigned said[WORLD_CONNS] = {0};
    uint32_t k;
    serve(w, true);
    world_create(w);
    k = long_call(w);
    live(w, born, said, 20000);
    assert_in_range(w->conn_count, 9, 11);
    assert_int_equal(w->goaways, w->conn_count - 1);
    world_silent(w, k);
    peer_finish(w->streams[0], 0, NULL, NULL);
    world_end(w, k, ENSIGN_GRPC_OK);
}

/* Each connection has a call that goes on: the one before it is cut when this one is told to go. */
SCRIPT(the_oldest_call_is_cut_when_the_next_connection_drains_too)
{
    uint64_t born[WORLD_CONNS] = {0};
    unsigned said[WORLD_CONNS] = {0};
    uint32_t k, later;
    serve(w, true);
    world_create(w);
    k = long_call(w);
    for (int i = 0; i < 8; i++) {
        while (!said[i]) live(w, born, said, 100);
        later = long_call(w);
        assert_int_equal(newest(w)->conn->number, i + 1);
        world_silent(w, k);
        while (!said[i + 1]) live(w, born, said, 100);
        expect_end_of_goaway(w, k, "max_age");
        k = later;
    }
}

/* ------------------------------------------------------------------ notices */
typedef enum { BY_ITS_STREAMS, BY_CLOSE, BY_RESET, WAYS } way_t;

/* The drained connection ends in this way. */
static void drained(world_t *w, way_t way, uint32_t k, stream_t *s)
{
    if (way == BY_ITS_STREAMS) {
        peer_finish(s, 0, NULL, NULL);
        world_end(w, k, ENSIGN_GRPC_OK);
    } else {
        world_cut_link(w, s->conn->link, way == BY_RESET ? ECONNRESET : 0);
        expect_end_of_goaway(w, k, "maintenance");
    }
    world_settle(w);
    assert_false(s->conn->alive);
}

SCRIPT(goaway_is_a_notice_and_the_end_that_follows_is_none)
{
    serve(w, true);
    world_create(w);
    world_expect(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CONNECTED);
    for (way_t way = 0; way < WAYS; way++) {
        uint32_t k = long_call(w);
        stream_t *s = newest(w);
        goaway(w, NGHTTP2_NO_ERROR, "maintenance");
        expect_goaway(w, NGHTTP2_NO_ERROR, "maintenance");
        world_expect(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CONNECTED);
        ask(w);
        assert_int_equal(newest(w)->conn->number, way + 1);
        drained(w, way, k, s);
        world_pass(w, 60000);
        assert_null(world_pull(w, ENSIGN_CLIENT));
        assert_int_equal(running(w), 1);
    }
    assert_int_equal(w->dials[ENSIGN_LINK_RPC], WAYS + 1);
}

SCRIPT(the_code_of_a_goaway_is_told)
{
    uint32_t k;
    stream_t *s;
    serve(w, true);
    world_create(w);
    k = long_call(w);
    s = newest(w);
    world_expect(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CONNECTED);
    goaway(w, NGHTTP2_ENHANCE_YOUR_CALM, "too_many_pings");
    expect_goaway(w, NGHTTP2_ENHANCE_YOUR_CALM, "too_many_pings");
    world_expect(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CONNECTED);
    peer_finish(s, 0, NULL, NULL);
    world_end(w, k, ENSIGN_GRPC_OK);
    world_pass(w, 60000);
    assert_null(world_pull(w, ENSIGN_CLIENT));
}

/* ------------------------------------------------------------------ streams without an end of their own */
typedef enum { SUBSCRIPTION, WATCH, KINDS } kind_t;

static uint32_t opened(world_t *w, kind_t kind)
{
    ensign_subscription_desc_t d;
    memset(&d, 0, sizeof d);
    d.topics = weather;
    d.topic_count = 1;
    d.window_bytes = 65536;
    return kind == WATCH ? ensign_health(w->client, "", true, NULL).id
                         : ensign_subscription_open(w->client, &d).id;
}

/* Something comes on the stream and is told. */
static void delivers(world_t *w, kind_t kind, uint32_t handle, stream_t *s)
{
    static unsigned number;
    const ensign_notice_t *n;
    bytes_t reply = {0};
    char text[20];
    snprintf(text, sizeof text, "number %u", ++number);
    if (kind == SUBSCRIPTION) {
        service_deliver(s, number, text, strlen(text));
        expect_event(w, handle, text);
        return;
    }
    enc_uint(&reply, 1, 1 + number % 2);
    peer_send(s, &reply);
    n = world_expect(w, handle, ENSIGN_NOTICE_HEALTH);
    assert_int_equal(n->as.health.state, 1 + number % 2);
}

static stream_t *stands(world_t *w, kind_t kind, uint32_t handle, size_t i)
{
    stream_t *s = world_stream(w, i);
    if (kind == SUBSCRIPTION) world_expect(w, handle, ENSIGN_NOTICE_OPEN);
    return s;
}

/* The stream has left the old connection: one GAP, then what comes on the new one. */
static void has_moved(world_t *w, kind_t kind, uint32_t handle, stream_t *old)
{
    stream_t *s;
    if (kind == SUBSCRIPTION)
        assert_int_equal(world_expect(w, handle, ENSIGN_NOTICE_GAP)->error->code, ENSIGN_E_GOAWAY);
    s = stands(w, kind, handle, 1);
    assert_ptr_not_equal(s->conn, old->conn);
    assert_true(old->closed || old->reset);
    delivers(w, kind, handle, s);
    world_settle(w);
    world_silent(w, handle);
    assert_int_equal(running(w), 1);
}

static void each_kind_of_stream(world_t *w, void (*f)(world_t *, kind_t))
{
    chunk_t mode = w->mode;
    const char *name = w->script;
    for (kind_t kind = 0; kind < KINDS; kind++) {
        if (kind > 0) {
            world_close(w);
            world_begin(w, mode, world_base_seed());
            w->script = name;
        }
        serve(w, true);
        world_create(w);
        f(w, kind);
    }
}

/* The stream stands, and the server has sent GOAWAY while a new connection is not made. */
static stream_t *goaway_under(world_t *w, kind_t kind, uint32_t handle, dial_t dial)
{
    stream_t *s = stands(w, kind, handle, 0);
    delivers(w, kind, handle, s);
    w->dial[ENSIGN_LINK_RPC] = dial;
    goaway(w, NGHTTP2_NO_ERROR, "stopping");
    world_settle(w);
    return s;
}

static void stays_until_settings(world_t *w, kind_t kind)
{
    uint32_t handle = opened(w, kind);
    stream_t *s = goaway_under(w, kind, handle, DIAL_SILENT);
    ensign_link_t l;
    delivers(w, kind, handle, s);
    world_pass(w, 5000);
    delivers(w, kind, handle, s);
    assert_false(s->reset || s->closed);
    ensign_link(w->client, ENSIGN_LINK_RPC_2, &l);
    assert_int_equal(l.todo, ENSIGN_LINK_DIAL);
    ensign_link_up(w->client, ENSIGN_LINK_RPC_2, l.attempt, 0, w->now); /* no bytes come yet */
    world_pass(w, 5000);
    delivers(w, kind, handle, s);
    world_conn(w, ENSIGN_LINK_RPC_2, l.attempt, false);
    has_moved(w, kind, handle, s);
}

SCRIPT(a_stream_stays_until_the_next_connection_has_settings)
{
    each_kind_of_stream(w, stays_until_settings);
}

static void leaves_when_dial_fails(world_t *w, kind_t kind)
{
    uint32_t handle = opened(w, kind);
    stream_t *s = goaway_under(w, kind, handle, DIAL_REFUSE);
    assert_true(s->reset || s->closed);
    assert_false(s->conn->alive);       /* its only stream is gone */
    world_pass(w, 5000);
    w->dial[ENSIGN_LINK_RPC] = DIAL_ACCEPT;
    has_moved(w, kind, handle, s);
}

SCRIPT(a_stream_leaves_when_the_next_connection_cannot_be_had)
{
    each_kind_of_stream(w, leaves_when_dial_fails);
}

static void leaves_a_mute_next_one(world_t *w, kind_t kind)
{
    uint32_t handle = opened(w, kind);
    stream_t *s = goaway_under(w, kind, handle, DIAL_SILENT);
    world_pass(w, 19000);
    assert_true(s->conn->alive);
    world_pass(w, 2000);        /* connect_timeout_ms is over */
    assert_false(s->conn->alive);
    w->dial[ENSIGN_LINK_RPC] = DIAL_ACCEPT;
    has_moved(w, kind, handle, s);
}

SCRIPT(a_stream_leaves_when_the_next_connection_is_never_made)
{
    each_kind_of_stream(w, leaves_a_mute_next_one);
}

/* ------------------------------------------------------------------ publishers */
/* The old server has answered all, and never ends the stream. */
SCRIPT(a_publisher_moves_without_the_old_servers_end)
{
    ensign_publisher_t p;
    uint64_t begun;
    serve(w, true);
    w->on_half = NULL;
    world_create(w);
    p = publisher(w, 60000);
    put(w, p, 0, 5);
    expect_acks(w, p, 0, 5);
    begun = w->now;
    goaway(w, NGHTTP2_NO_ERROR, "max_age");
    world_settle(w);
    put(w, p, 5, 10);
    expect_acks(w, p, 5, 10);
    assert_in_range(w->now - begun, 0, 1100);
    assert_int_equal(service.count, 10);
}

SCRIPT(a_publisher_without_answers_moves_after_ack_timeout)
{
    ensign_publisher_t p;
    stream_t *s;
    uint64_t begun;
    serve(w, false);
    world_create(w);
    p = publisher(w, 5000);
    put(w, p, 0, 5);
    heard(w, 4);
    s = w->streams[0];
    begun = w->now;
    goaway(w, NGHTTP2_NO_ERROR, "max_age");
    world_settle(w);
    put(w, p, 5, 10);
    world_pass(w, 4900);
    assert_int_equal(service.count, 5);
    assert_false(s->reset);
    assert_int_equal(running(w), 2);
    service.ack = true;
    expect_acks(w, p, 0, 10);
    assert_in_range(w->now - begun, 5000, 5200);
    assert_true(s->reset || s->closed);
    assert_int_equal(service.count, 15);
    for (size_t i = 0; i < 10; i++) {
        expect_heard(w, 5 + i, i, 1);
        if (i < 5) assert_memory_equal(service.events[5 + i].id, service.events[i].id, 16);
    }
    world_silent(w, p.id);
    assert_int_equal(running(w), 1);
    service_reset();
}

/* The last id of the GOAWAY is below the stream: nobody heard it, and it is no failure. */
SCRIPT(a_publisher_that_was_not_processed_moves_at_once)
{
    ensign_publisher_t p;
    uint32_t k;
    uint64_t begun;
    serve(w, false);
    world_create(w);
    k = long_call(w);
    service.mute = true;
    p = publisher(w, 0);
    put(w, p, 0, 3);
    world_until(w, service.opened == 1);
    begun = w->now;
    service.ack = true;
    service.mute = false;
    peer_goaway(w, w->streams[0]->id, NGHTTP2_NO_ERROR, "");
    expect_acks(w, p, 0, 3);
    assert_int_equal(w->now, begun);
    for (size_t i = 0; i < 3; i++) expect_heard(w, i, i, 1);
    peer_finish(w->streams[0], 0, NULL, NULL);
    world_end(w, k, ENSIGN_GRPC_OK);
    service_reset();
}

/* ------------------------------------------------------------------ drain_timeout_ms */
SCRIPT(draining_has_a_limit)
{
    uint32_t k;
    stream_t *s;
    serve(w, true);
    w->desc.drain_timeout_ms = 3000;
    world_create(w);
    k = long_call(w);
    s = newest(w);
    goaway(w, NGHTTP2_NO_ERROR, "max_age");
    world_pass(w, 2900);
    ask(w);
    world_silent(w, k);
    assert_true(s->conn->alive);
    world_pass(w, 200);
    expect_end_of_goaway(w, k, "drain_timeout_ms");
    assert_false(s->conn->alive);
    ask(w);
    world_hear(w);
    assert_int_equal(w->disconnected, 0);
    assert_int_equal(w->dials[ENSIGN_LINK_RPC], 2);
}

SCRIPT(draining_has_no_limit_by_default)
{
    uint32_t k;
    serve(w, true);
    world_create(w);
    k = long_call(w);
    goaway(w, NGHTTP2_NO_ERROR, "max_age");
    world_settle(w);
    world_hear(w);      /* else the loop would turn for what is not pulled */
    world_pass(w, 7 * 24 * 3600000);
    world_silent(w, k);
    peer_message(w->streams[0], "late", 4);
    assert_text(world_expect(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "late");
    peer_finish(w->streams[0], 0, NULL, NULL);
    world_end(w, k, ENSIGN_GRPC_OK);
}

/* ------------------------------------------------------------------ nothing open */
SCRIPT(a_useful_connection_is_replaced_at_once)
{
    uint64_t begun;
    serve(w, true);
    world_create(w);
    for (int i = 0; i < 5; i++) {
        ask(w);
        world_hear(w);
        world_pass(w, 500);
        begun = w->now;
        goaway(w, NGHTTP2_NO_ERROR, "max_age");
        expect_goaway(w, NGHTTP2_NO_ERROR, "max_age");
        ask(w);
        assert_int_equal(w->now, begun);
    }
    assert_int_equal(w->disconnected, 0);
    assert_int_equal(w->dials[ENSIGN_LINK_RPC], 6);
}

/* A server may give each connection so many requests and no more: 20 calls at once are over in no time. */
SCRIPT(a_short_connection_with_many_answers_is_replaced_at_once)
{
    uint64_t begun;
    serve(w, true);
    world_create(w);
    ask(w);
    begun = w->now;
    for (int i = 0; i < 10; i++) {
        for (int k = 0; k < 8; k++) ask(w);
        world_hear(w);
        goaway(w, NGHTTP2_NO_ERROR, "");
        expect_goaway(w, NGHTTP2_NO_ERROR, "");
    }
    ask(w);
    assert_int_equal(w->now, begun);
    assert_int_equal(w->dials[ENSIGN_LINK_RPC], 11);
    assert_int_equal(w->disconnected, 0);
}

SCRIPT(an_answer_that_comes_with_the_goaway_counts)
{
    ensign_call_desc_t d = streaming();
    uint64_t begun;
    uint32_t k;
    stream_t *s;
    serve(w, true);
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    world_pass(w, 1000);
    begun = w->now;
    peer_message(s, "one", 3);
    last_goaway(s->conn, NGHTTP2_NO_ERROR, "");
    ask(w);
    assert_int_equal(w->now, begun);
    assert_text(world_await(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "one");
    assert_int_equal(newest(w)->conn->number, 1);
}

SCRIPT(a_useless_connection_is_replaced_after_a_backoff)
{
    const ensign_notice_t *n;
    uint32_t k;
    serve(w, true);
    world_setting(w, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0);
    world_create(w);
    k = unary_call(w);
    world_settle(w);
    world_expect(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CONNECTED);
    goaway(w, NGHTTP2_NO_ERROR, "");
    world_settle(w);
    expect_goaway(w, NGHTTP2_NO_ERROR, "");
    n = world_expect(w, ENSIGN_CLIENT, ENSIGN_NOTICE_DISCONNECTED);
    assert_int_equal(n->error->code, ENSIGN_E_GOAWAY);
    assert_int_equal(w->dials[ENSIGN_LINK_RPC], 1);
    w->setting_count = 0;
    world_reply(w, k, ENSIGN_GRPC_OK);
    assert_int_equal(w->dials[ENSIGN_LINK_RPC], 2);
}

static void away_unprocessed(world_t *w, stream_t *s)
{
    (void)w;
    if (!s->conn->goaway) conn_goaway(s->conn, 0, NGHTTP2_NO_ERROR, text_slice(""));
}

static void away_answered(world_t *w, stream_t *s)
{
    (void)w;
    peer_open(s);
    if (!s->conn->goaway) last_goaway(s->conn, NGHTTP2_NO_ERROR, "");
}

static void away_calm(world_t *w, stream_t *s)
{
    (void)w;
    peer_open(s);
    if (!s->conn->goaway) last_goaway(s->conn, NGHTTP2_ENHANCE_YOUR_CALM, "");
}

/* The server is dialled now and then: what it does costs it and us little. */
static void dials_are_few(world_t *w, void (*away)(world_t *, stream_t *), unsigned most)
{
    ensign_publisher_t p;
    serve(w, true);
    w->on_message = NULL;
    w->on_headers = away;
    world_create(w);
    p = publisher(w, 0);
    (void)opened(w, SUBSCRIPTION);
    (void)opened(w, WATCH);
    put(w, p, 0, 1);
    for (int i = 0; i < 100; i++) {
        world_pass(w, 100);
        while (world_pull(w, 0)) {}
        assert_in_range(running(w), 0, 2);
    }
    assert_in_range(w->dials[ENSIGN_LINK_RPC], 3, most);
    service_reset();
}

SCRIPT(a_server_that_always_goes_away_is_not_dialled_in_a_loop)
{
    dials_are_few(w, away_unprocessed, 20);
}

SCRIPT(a_server_that_answers_and_goes_away_is_not_dialled_in_a_loop)
{
    dials_are_few(w, away_answered, 40);
}

SCRIPT(a_server_that_answers_and_complains_is_not_dialled_in_a_loop)
{
    dials_are_few(w, away_calm, 40);
}

/* ------------------------------------------------------------------ an error, and streams that run */
SCRIPT(a_complaint_makes_the_next_connection_wait)
{
    ensign_call_desc_t d = unary("late");
    uint32_t k, late;
    stream_t *s;
    uint64_t begun;
    serve(w, true);
    w->desc.backoff_min_ms = 1000;
    world_create(w);
    k = long_call(w);
    s = newest(w);
    world_pass(w, 60000);
    world_hear(w);
    d.method = "/test.Service/Unary";
    d.wait_for_ready = false;
    w->on_message = NULL;
    late = call(w, &d);                     /* it is on its way, and will not be processed */
    world_stream(w, 1);
    w->on_message = answer;
    begun = w->now;
    conn_goaway(s->conn, s->id, NGHTTP2_ENHANCE_YOUR_CALM, text_slice("calm"));
    world_settle(w);
    assert_int_equal(w->dials[ENSIGN_LINK_RPC], 1);
    assert_text(world_reply(w, late, ENSIGN_GRPC_OK)->as.reply.message, "ok");
    assert_in_range(w->now - begun, 1, 1000);
    assert_int_equal(newest(w)->conn->number, 1);
    peer_finish(s, 0, NULL, NULL);
    world_end(w, k, ENSIGN_GRPC_OK);
    world_hear(w);
    assert_int_equal(w->disconnected, 0);
}

/* A call is sent again once; then it says that the server did not act on it. */
SCRIPT(what_goaway_leaves_out_ends_unprocessed)
{
    ensign_call_desc_t d = streaming();
    const ensign_notice_t *n;
    uint32_t k;
    stream_t *s;
    serve(w, true);
    world_create(w);
    (void)long_call(w);
    s = newest(w);
    k = call(w, &d);
    for (int i = 0; i < 3; i++) assert_int_equal(send_text(w, k, "some"), ENSIGN_OK);
    world_stream(w, 1);
    peer_goaway(w, s->id, NGHTTP2_NO_ERROR, "max_age");
    world_stream(w, 2);
    peer_goaway(w, 0, NGHTTP2_NO_ERROR, "shutting down");
    n = world_end(w, k, ENSIGN_GRPC_UNAVAILABLE);
    assert_true(n->as.end.unprocessed);
    assert_int_equal(n->error->code, ENSIGN_E_GOAWAY);
    assert_non_null(strstr(n->error->text, "shutting down"));
}

/* ------------------------------------------------------------------ memory for one connection */
static void one_at_a_time(world_t *w, way_t way, uint32_t drain_timeout_ms)
{
    ensign_call_desc_t d = streaming();
    uint32_t k, later;
    stream_t *s;
    uint64_t begun;
    serve(w, true);
    w->desc.memory_limit = 500000;
    w->desc.drain_timeout_ms = drain_timeout_ms;
    world_create(w);
    k = long_call(w);
    s = newest(w);
    world_pass(w, 1000);
    goaway(w, NGHTTP2_NO_ERROR, "maintenance");
    world_settle(w);
    d.method = "/test.Service/Stream";
    d.request = text_slice("begin");
    later = call(w, &d);
    assert_int_equal(world_waiting(w, later, "memory_limit")->error->code, ENSIGN_E_GOAWAY);
    world_pass(w, 2000);
    assert_int_equal(w->dials[ENSIGN_LINK_RPC], 1);
    begun = w->now;
    if (drain_timeout_ms) expect_end_of_goaway(w, k, "drain_timeout_ms");
    else drained(w, way, k, s);
    assert_text(world_await(w, later, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "go");
    assert_int_equal(w->now - begun, drain_timeout_ms ? drain_timeout_ms - 2000 : 0);
    assert_int_equal(newest(w)->conn->number, 1);
    world_hear(w);
    assert_int_equal(w->disconnected, 0);
    assert_int_equal(w->goaways, 1);
}

SCRIPT(without_memory_for_two_the_first_drains_before)
{
    one_at_a_time(w, BY_ITS_STREAMS, 0);
}

SCRIPT(without_memory_for_two_the_first_may_be_closed)
{
    one_at_a_time(w, BY_CLOSE, 0);
}

SCRIPT(without_memory_for_two_the_first_may_be_reset)
{
    one_at_a_time(w, BY_RESET, 0);
}

SCRIPT(without_memory_for_two_the_first_has_a_limit)
{
    one_at_a_time(w, BY_ITS_STREAMS, 3000);
}

SCRIPT(with_memory_for_two_there_are_two_and_it_comes_back)
{
    size_t before = 0;
    serve(w, true);
    w->desc.memory_limit = 2000000;
    world_create(w);
    ask(w);
    for (int i = 0; i < 6; i++) {
        uint32_t k = long_call(w);
        stream_t *s = newest(w);
        world_pass(w, 1000);
        world_hear(w);
        if (i < 2) before = memory(w);      /* small blocks are kept, once */
        assert_int_equal(memory(w), before);
        goaway(w, NGHTTP2_NO_ERROR, "max_age");
        ask(w);
        assert_int_equal(running(w), 2);
        assert_true(memory(w) > before);
        peer_finish(s, 0, NULL, NULL);
        world_end(w, k, ENSIGN_GRPC_OK);
        world_settle(w);
        assert_int_equal(running(w), 1);
    }
}

/* ------------------------------------------------------------------ at a bad moment */
SCRIPT(goaway_while_a_token_is_renewed)
{
    uint32_t k;
    stream_t *s;
    serve(w, true);
    w->access_s = 600;
    w->overlap_s = 100;
    w->refresh_s = 1200;
    world_create_with_key(w);
    k = long_call(w);
    s = newest(w);
    world_hear(w);
    w->auth_manual = true;
    world_until(w, w->auth_requests == 2);
    goaway(w, NGHTTP2_NO_ERROR, "max_age");
    ask(w);
    assert_int_equal(newest(w)->conn->number, 1);
    assert_non_null(strstr(peer_field(newest(w), "authorization"), w->access));
    auth_grant(w);
    world_settle(w);
    ask(w);
    assert_int_equal(w->access_serial, 2);
    assert_non_null(strstr(peer_field(newest(w), "authorization"), w->access));
    peer_finish(s, 0, NULL, NULL);
    world_end(w, k, ENSIGN_GRPC_OK);
    world_hear(w);
    assert_int_equal(w->disconnected, 0);
}

/* Two connections, each with a call that goes on. */
static void two(world_t *w, uint32_t *k, stream_t **s)
{
    for (int i = 0; i < 2; i++) {
        k[i] = long_call(w);
        s[i] = newest(w);
        world_pass(w, 1000);
        if (i == 0) goaway(w, NGHTTP2_NO_ERROR, "max_age");
        world_settle(w);
    }
    assert_int_equal(running(w), 2);
    assert_ptr_not_equal(s[0]->conn, s[1]->conn);
    world_hear(w);
}

SCRIPT(a_goaway_on_the_newer_cuts_the_older)
{
    uint32_t k[2];
    stream_t *s[2];
    serve(w, true);
    world_create(w);
    two(w, k, s);
    last_goaway(s[1]->conn, NGHTTP2_NO_ERROR, "second");
    conn_goaway(s[0]->conn, 0, NGHTTP2_NO_ERROR, text_slice("at once"));
    expect_goaway(w, NGHTTP2_NO_ERROR, "second");
    world_end(w, k[0], ENSIGN_GRPC_UNAVAILABLE);
    ask(w);
    assert_int_equal(newest(w)->conn->number, 2);
    peer_finish(s[1], 0, NULL, NULL);
    world_end(w, k[1], ENSIGN_GRPC_OK);
    world_settle(w);
    assert_int_equal(running(w), 1);
    world_hear(w);
    assert_int_equal(w->disconnected, 0);
}

SCRIPT(a_third_connection_follows_two_that_are_lost)
{
    uint32_t k[2];
    stream_t *s[2];
    serve(w, true);
    world_create(w);
    two(w, k, s);
    world_cut_link(w, s[1]->conn->link, ECONNRESET);
    assert_int_equal(world_end(w, k[1], ENSIGN_GRPC_UNAVAILABLE)->error->code, ENSIGN_E_CLOSED);
    world_cut_link(w, s[0]->conn->link, ECONNRESET);
    expect_end_of_goaway(w, k[0], "max_age");
    world_pass(w, 1000);
    ask(w);
    world_hear(w);
    assert_int_equal(w->disconnected, 1);
}

static void closes(world_t *w, uint32_t timeout_ms)
{
    uint64_t begun;
    uint32_t k[2];
    stream_t *s[2];
    serve(w, true);
    world_create(w);
    two(w, k, s);
    begun = w->now;
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, timeout_ms), ENSIGN_OK);
    for (int i = 0; i < 2; i++) {
        world_end(w, k[i], ENSIGN_GRPC_CANCELLED);
        assert_int_equal(w->now, begun + timeout_ms);
    }
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED);
    world_pass(w, 60000);
    assert_int_equal(running(w), 0);
    assert_true(s[1]->conn->client_goaway);
    assert_int_equal(w->dials[ENSIGN_LINK_RPC], 2);
}

SCRIPT(closing_ends_both_at_once) { closes(w, 0); }
SCRIPT(closing_ends_both_in_time) { closes(w, 1000); }

SCRIPT(closing_lets_both_finish)
{
    uint32_t k[2];
    stream_t *s[2];
    serve(w, true);
    world_create(w);
    two(w, k, s);
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, ENSIGN_FOREVER), ENSIGN_OK);
    for (int i = 0; i < 2; i++) {
        world_until(w, s[i]->half_closed);
        peer_finish(s[i], 0, NULL, NULL);
        world_end(w, k[i], ENSIGN_GRPC_OK);
    }
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED);
}

SCRIPT(cancelling_all_on_both)
{
    uint32_t k[2];
    stream_t *s[2];
    serve(w, true);
    world_create(w);
    two(w, k, s);
    assert_int_equal(ensign_cancel(w->client, ENSIGN_CLIENT), ENSIGN_OK);
    for (int i = 0; i < 2; i++) world_end(w, k[i], ENSIGN_GRPC_CANCELLED);
    world_settle(w);
    while (world_pull(w, 0)) {}
    for (int i = 0; i < 2; i++) {
        assert_true(s[i]->reset);
        assert_int_equal(s[i]->reset_code, NGHTTP2_CANCEL);
    }
    assert_int_equal(running(w), 0);
}

SCRIPT(forgetting_on_both)
{
    uint32_t k[2];
    stream_t *s[2];
    serve(w, true);
    world_create(w);
    two(w, k, s);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ensign_forget(w->client, k[i]), ENSIGN_OK);
        world_settle(w);
        assert_true(s[i]->reset);
        assert_int_equal(s[i]->conn->alive, i == 1);
    }
    ask(w);
    assert_ptr_equal(newest(w)->conn, s[1]->conn);
}

/* world_close does it, and finds what is left behind. */
SCRIPT(destroying_on_both)
{
    uint32_t k[2];
    stream_t *s[2];
    serve(w, true);
    world_create(w);
    two(w, k, s);
}

/* The older connection, which was of use, is cut for a newer one that was of none: the complaint stands. */
SCRIPT(a_connection_that_is_cut_hides_no_complaint)
{
    ensign_call_desc_t d = streaming();
    uint32_t k, later;
    serve(w, true);
    w->desc.backoff_min_ms = 10000;
    w->desc.seed = 1;                       /* a backoff that is not 0 */
    world_create(w);
    k = long_call(w);
    goaway(w, NGHTTP2_NO_ERROR, "max_age");
    world_settle(w);
    (void)call(w, &d);                      /* it is never answered */
    world_stream(w, 1);
    goaway(w, NGHTTP2_ENHANCE_YOUR_CALM, "too many calls");
    expect_end_of_goaway(w, k, "max_age");
    later = call(w, &d);
    assert_int_equal(world_waiting(w, later, "too many calls")->error->code, ENSIGN_E_GOAWAY);
}

/* The peer takes nothing, and what waits for it is of no stream any more: that holds up no new call. */
SCRIPT(a_peer_that_takes_nothing_does_not_keep_its_connection)
{
    static char large[200000];
    ensign_call_desc_t d = unary("");
    ensign_link_t l;
    conn_t *c;
    uint8_t *room;
    size_t n, cap;
    uint32_t k;
    serve(w, true);
    world_create(w);
    ask(w);
    world_pass(w, 1000);
    d.request = slice_of(large, sizeof large);
    d.method = "/test.Service/Unary";
    w->links = 0;
    k = call(w, &d);
    ensign_tick(w->client, w->now);
    assert_int_equal(ensign_forget(w->client, k), ENSIGN_OK);
    ensign_tick(w->client, w->now);
    c = w->conn[ENSIGN_LINK_RPC];
    last_goaway(c, NGHTTP2_NO_ERROR, "");
    n = conn_fill(c, 100);
    room = ensign_rx_buf(w->client, c->link, &cap);
    assert_in_range(n, 17, cap);
    memcpy(room, c->out.p + c->out_at, n);
    c->out_at += n;
    ensign_rx_ack(w->client, c->link, n, w->now);
    ensign_link(w->client, c->link, &l);
    assert_int_equal(l.todo, ENSIGN_LINK_HANGUP);
    world_drop(w, c->link);
    ensign_link_down(w->client, c->link, l.attempt, 0, w->now);
    w->links = ENSIGN_MAX_LINKS;
    ask(w);
}

/* ------------------------------------------------------------------ no memory */
/* A client with all kinds of streams sees a GOAWAY while memory is short; then memory is there again. */
static void short_of_memory(world_t *w, uint64_t at, uint32_t in)
{
    ensign_publisher_t p;
    uint32_t k;
    serve(w, true);
    w->fault = true;
    world_create(w);
    p = publisher(w, 0);
    k = opened(w, SUBSCRIPTION);
    (void)long_call(w);
    put(w, p, 0, 3);
    expect_acks(w, p, 0, 3);
    world_await(w, k, ENSIGN_NOTICE_OPEN);
    service.ack = false;
    put(w, p, 3, 5);
    heard(w, 4);
    if (at) w->fail_at = w->allocs + at;
    w->fail_in = in;
    if (w->conn[ENSIGN_LINK_RPC]) goaway(w, NGHTTP2_NO_ERROR, "max_age");
    world_settle(w);
    service.ack = true;
    if (w->streams[0]->conn->alive) heard_ack(w, 3), heard_ack(w, 4);
    world_pass(w, 5000);
    w->fail_at = w->fail_in = 0;
    put(w, p, 5, 8);
    expect_acks(w, p, 3, 8);
    world_pass(w, 60000);
    ask(w);
    assert_in_range(running(w), 1, 2);
    world_until(w, path_ends(newest(w), "/Unary"));
    service_reset();
}

SCRIPT(each_allocation_fails_once_while_switching)
{
    chunk_t mode = w->mode;
    bool failed = true;
    for (uint64_t at = 1; failed; at++) {
        short_of_memory(w, at, 0);
        failed = w->failed_once;
        world_close(w);
        world_begin(w, mode, world_base_seed());
        assert_true(at < 1000);
    }
}

SCRIPT(memory_is_scarce_while_switching)
{
    chunk_t mode = w->mode;
    for (uint64_t seed = 1; seed < 30; seed++) {
        short_of_memory(w, 0, 2 + seed % 4);
        world_close(w);
        world_begin(w, mode, seed);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(a_held_query_stops_no_publisher),
        IN_MODES(calls_go_on_over_many_connections),
        IN_MODES(the_oldest_call_is_cut_when_the_next_connection_drains_too),
        IN_MODES(goaway_is_a_notice_and_the_end_that_follows_is_none),
        IN_MODES(the_code_of_a_goaway_is_told),
        IN_MODES(a_stream_stays_until_the_next_connection_has_settings),
        IN_MODES(a_stream_leaves_when_the_next_connection_cannot_be_had),
        IN_MODES(a_stream_leaves_when_the_next_connection_is_never_made),
        IN_MODES(a_publisher_moves_without_the_old_servers_end),
        IN_MODES(a_publisher_without_answers_moves_after_ack_timeout),
        IN_MODES(a_publisher_that_was_not_processed_moves_at_once),
        IN_MODES(draining_has_a_limit),
        IN_MODES(draining_has_no_limit_by_default),
        IN_MODES(a_useful_connection_is_replaced_at_once),
        IN_MODES(a_short_connection_with_many_answers_is_replaced_at_once),
        IN_MODES(an_answer_that_comes_with_the_goaway_counts),
        IN_MODES(a_useless_connection_is_replaced_after_a_backoff),
        IN_MODES(a_server_that_always_goes_away_is_not_dialled_in_a_loop),
        IN_MODES(a_server_that_answers_and_goes_away_is_not_dialled_in_a_loop),
        IN_MODES(a_server_that_answers_and_complains_is_not_dialled_in_a_loop),
        IN_MODES(a_complaint_makes_the_next_connection_wait),
        IN_MODES(what_goaway_leaves_out_ends_unprocessed),
        IN_MODES(without_memory_for_two_the_first_drains_before),
        IN_MODES(without_memory_for_two_the_first_may_be_closed),
        IN_MODES(without_memory_for_two_the_first_may_be_reset),
        IN_MODES(without_memory_for_two_the_first_has_a_limit),
        IN_MODES(with_memory_for_two_there_are_two_and_it_comes_back),
        IN_MODES(goaway_while_a_token_is_renewed),
        IN_MODES(a_goaway_on_the_newer_cuts_the_older),
        IN_MODES(a_third_connection_follows_two_that_are_lost),
        IN_MODES(closing_ends_both_at_once),
        IN_MODES(closing_ends_both_in_time),
        IN_MODES(closing_lets_both_finish),
        IN_MODES(cancelling_all_on_both),
        IN_MODES(forgetting_on_both),
        IN_MODES(destroying_on_both),
        IN_MODES(a_connection_that_is_cut_hides_no_complaint),
        IN_MODES(a_peer_that_takes_nothing_does_not_keep_its_connection),
        IN_MODES(each_allocation_fails_once_while_switching),
        IN_MODES(memory_is_scarce_while_switching),
    };
    return cmocka_run_group_tests_name("goaway", tests, NULL, NULL);
}
