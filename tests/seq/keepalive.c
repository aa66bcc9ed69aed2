/* A connection that is dead, or in doubt: keepalive PINGs, what makes a PING before, the new connection; and
 * that servers which count PINGs as gRPC's do are not annoyed. */
#include "service.h"
#include "calls.h"

enum {
    KEEPALIVE_MS = 320000,          /* by default, as is TIMEOUT_MS */
    TIMEOUT_MS = 20000,
    BACKOFF_MS = 100,               /* after a first failure, at most */
    GRPC_MIN_MS = 300000,           /* between PINGs, by the default of gRPC's servers */
    HOUR_MS = 3600000
};

/* ------------------------------------------------------------------ how gRPC servers count PINGs
 * grpc-go and grpc's core alike: a PING that comes too soon behind the last one is a strike, and without an
 * open stream two hours are too soon; HEADERS or DATA of the server clear the strikes, and the PING behind
 * them is free; the third strike is GOAWAY, and the end. */
static struct {
    const conn_t *conn;
    uint64_t min_ms, last_ms;
    bool any;                       /* a PING came on this connection */
    unsigned strikes, worst, pings, streamless, sent_away;
    const char *words;              /* of the GOAWAY */
} police;

static unsigned streams_on(const world_t *w, const conn_t *c)
{
    unsigned n = 0;
    for (size_t i = 0; i < w->stream_count; i++)
        n += w->streams[i]->conn == c && w->streams[i]->headers && !w->streams[i]->closed;
    return n;
}

static void on_ping(conn_t *c)
{
    const world_t *w = (const world_t *)c->owner;
    unsigned open = streams_on(w, c);
    uint64_t apart = open ? police.min_ms : 2 * HOUR_MS;
    if (police.conn != c) police.any = false, police.strikes = 0, police.conn = c;
    police.pings++;
    police.streamless += open == 0;
    if (c->answered) police.strikes = 0;
    else if (police.any && w->now - police.last_ms < apart) police.strikes++;
    if (police.strikes > police.worst) police.worst = police.strikes;
    police.any = true;
    police.last_ms = w->now;
    c->answered = false;
    if (police.strikes <= 2) return;
    police.sent_away++;
    conn_goaway(c, nghttp2_session_get_last_proc_stream_id(c->session), NGHTTP2_ENHANCE_YOUR_CALM,
                text_slice(police.words));
    c->hangs_up = true;
}

/* ------------------------------------------------------------------ the service; what the client tells */
static bool silent;                 /* calls get no answer */
static struct { unsigned acks, nacks, opens, gaps, replies, late, lost, ends; } told;

static void on_message(world_t *w, stream_t *s, ensign_slice_t m)
{
    const char *path = peer_field(s, ":path");
    bytes_t health = {0};
    if (strstr(path, "/Publish")) {
        service_publish(w, s, m);
    } else if (strstr(path, "/Subscribe")) {
        if (!s->started) service_ready(s, 2);
    } else if (strstr(path, "/Watch")) {
        enc_uint(&health, 1, ENSIGN_HEALTH_SERVING);
        peer_send(s, &health);
    } else if (!silent) {
        peer_message(s, "ok", 2);
        peer_finish(s, 0, NULL, NULL);
    }
}

static void on_half(world_t *w, stream_t *s)
{
    if (strstr(peer_field(s, ":path"), "/Publish")) service_half(w, s);
}

static void begin(world_t *w)
{
    memset(&police, 0, sizeof police);
    memset(&told, 0, sizeof told);
    police.min_ms = GRPC_MIN_MS;
    police.words = "too_many_pings";
    silent = false;
    service_reset();
    service.ack = true;
    w->on_message = on_message;
    w->on_half = on_half;
    w->on_ping = on_ping;
    world_create(w);
    world_until(w, w->conn[ENSIGN_LINK_RPC]);
    world_settle(w);
}

static void hear(world_t *w)
{
    const ensign_notice_t *n;
    while ((n = world_pull(w, 0)) != NULL) {
        switch (n->type) {
        case ENSIGN_NOTICE_ACK: told.acks++; break;
        case ENSIGN_NOTICE_NACK: told.nacks++; break;
        case ENSIGN_NOTICE_OPEN: told.opens++; break;
        case ENSIGN_NOTICE_GAP: told.gaps++; break;
        case ENSIGN_NOTICE_END: told.ends++; break;
        case ENSIGN_NOTICE_REPLY:
            told.replies++;
            told.late += n->as.reply.status == ENSIGN_GRPC_DEADLINE_EXCEEDED;
            told.lost += n->as.reply.status == ENSIGN_GRPC_UNAVAILABLE;
            break;
        default: break;
        }
    }
}

/* Time goes by, and what the client tells is heard. */
static void pass(world_t *w, uint64_t ms)
{
    uint64_t end = w->now + ms;
    unsigned idle = 0;
    for (;;) {
        int t;
        world_settle(w);
        hear(w);
        if (w->now >= end) return;
        t = ensign_timeout(w->client, w->now);
        if (t == 0 && ++idle > 3) world_fail(w, "it asks to be stepped, and does nothing");
        if (t != 0) idle = 0;
        w->now = t >= 0 && w->now + (uint64_t)t < end ? w->now + (uint64_t)t : end;
    }
}

static uint32_t subscription(world_t *w)
{
    static const char *const topics[] = { "weather" };
    ensign_subscription_desc_t d;
    memset(&d, 0, sizeof d);
    d.topics = topics;
    d.topic_count = 1;
    return ensign_subscription_open(w->client, &d).id;
}

static ensign_publisher_t publisher(world_t *w)
{
    ensign_publisher_desc_t d;
    memset(&d, 0, sizeof d);
    d.topic = "weather";
    return ensign_publisher_open(w->client, &d);
}

static void put(world_t *w, ensign_publisher_t p)
{
    ensign_event_t e;
    memset(&e, 0, sizeof e);
    e.data = text_slice("rain");
    assert_int_equal(ensign_publish(w->client, p, &e), ENSIGN_OK);
}

static uint32_t asked(world_t *w, uint32_t deadline_ms)
{
    ensign_call_desc_t d = unary("?");
    d.deadline_ms = deadline_ms;
    return call(w, &d);
}

/* The stream of the subscription. */
static stream_t *subscribed(world_t *w)
{
    size_t i = 0;
    while (!strstr(peer_field(world_stream(w, i), ":path"), "/Subscribe")) i++;
    return w->streams[i];
}

/* From now on a relay in between takes all and passes nothing on. */
static void go_mute(world_t *w)
{
    w->conn[ENSIGN_LINK_RPC]->mute = true;
}

static unsigned pings(const world_t *w)
{
    return w->conn[ENSIGN_LINK_RPC]->pings;
}

/* ------------------------------------------------------------------ keepalive */
SCRIPT(a_quiet_stream_is_asked_after_each_keepalive_ms)
{
    uint64_t allocs;
    begin(w);
    subscription(w);
    pass(w, KEEPALIVE_MS - 1);
    assert_int_equal(pings(w), 0);
    pass(w, 2);
    assert_int_equal(pings(w), 1);
    allocs = w->allocs;
    pass(w, 10 * KEEPALIVE_MS);
    assert_int_equal(pings(w), 11);
    assert_int_equal(w->allocs, allocs);
    assert_int_equal(w->connected, 1);
    assert_int_equal(w->disconnected, 0);
    assert_int_equal(told.opens, 1);
}

/* Each kind that has a stream without end is worth a PING, others are not, unless the program says so. */
SCRIPT(only_streams_without_end_get_pings_by_default)
{
    static const struct { bool call, publisher, watch; uint32_t keepalive_ms; unsigned pings; } rows[] = {
        { false, false, false, 0, 0 },    { true, false, false, 0, 0 },      { false, true, false, 0, 11 },
        { false, false, true, 0, 11 },    { true, true, false, 0, 11 },      { false, false, false, 1000, 0 },
        { true, false, false, 100000, 36 }, { true, true, true, ENSIGN_FOREVER, 0 },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensign_call_desc_t d = streaming();
        if (i > 0) world_close(w), world_begin(w, w->mode, w->seed);
        w->desc.keepalive_ms = rows[i].keepalive_ms;
        begin(w);
        police.min_ms = 1;
        if (rows[i].call) call(w, &d);
        if (rows[i].publisher) publisher(w);
        if (rows[i].watch) ensign_health(w->client, "", true, NULL);
        pass(w, HOUR_MS);
        if (pings(w) != rows[i].pings)
            world_fail(w, "row %zu: %u PINGs in an hour instead of %u", i, pings(w), rows[i].pings);
        assert_int_equal(w->connected, 1);
    }
}

/* A connection that nobody used for long is asked as soon as a stream is opened, behind its HEADERS. */
SCRIPT(no_ping_without_an_open_stream)
{
    ensign_call_desc_t d = streaming();
    uint32_t k;
    w->desc.keepalive_ms = 1000;
    begin(w);
    police.min_ms = 1000;
    pass(w, HOUR_MS);
    assert_int_equal(pings(w), 0);
    for (unsigned round = 1; round <= 3; round++) {
        k = call(w, &d);
        pass(w, 900);
        assert_int_equal(pings(w), round);
        assert_int_equal(ensign_cancel(w->client, k), ENSIGN_OK);
        pass(w, HOUR_MS);
        assert_int_equal(pings(w), round);
    }
    assert_int_equal(police.streamless, 0);
    assert_int_equal(w->connected, 1);
}

/* Who waits for a stream that the server does not allow has no stream to ask by: the connection is made again. */
SCRIPT(silence_without_an_allowed_stream_ends_the_connection)
{
    uint32_t handle;
    world_setting(w, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0);
    begin(w);
    handle = subscription(w);
    pass(w, 1000);
    w->conn[ENSIGN_LINK_RPC]->mute = true;
    w->setting_count = 0;
    pass(w, KEEPALIVE_MS - 2000);
    assert_int_equal(w->conn_count, 1);
    world_stream(w, 0);
    assert_int_equal(w->conn_count, 2);
    assert_int_equal(pings(w), 0);
    world_hear(w);
    assert_int_equal(w->disconnected, 1);
    if (!strstr(w->last_error.text, "allows no stream")) world_fail(w, "DISCONNECTED: %s", w->last_error.text);
    (void)handle;
}

SCRIPT(keepalive_ends_with_its_stream)
{
    ensign_call_desc_t d = streaming();
    uint32_t s;
    begin(w);
    call(w, &d);
    s = subscription(w);
    pass(w, KEEPALIVE_MS + 1000);
    assert_int_equal(pings(w), 1);
    assert_int_equal(ensign_cancel(w->client, s), ENSIGN_OK);
    pass(w, HOUR_MS);
    assert_int_equal(pings(w), 1);
}

/* Any byte that comes puts the PING off. */
SCRIPT(what_comes_puts_the_ping_off)
{
    begin(w);
    subscription(w);
    for (unsigned i = 0; i < 10; i++) {
        pass(w, KEEPALIVE_MS - 10);
        assert_int_equal(nghttp2_submit_ping(w->conn[ENSIGN_LINK_RPC]->session, NGHTTP2_FLAG_NONE, NULL), 0);
        pass(w, 5);
    }
    assert_int_equal(pings(w), 0);
    pass(w, KEEPALIVE_MS);
    assert_int_equal(pings(w), 1);
}

/* ------------------------------------------------------------------ no answer */
SCRIPT(what_does_not_answer_is_replaced)
{
    ensign_call_desc_t d = streaming();
    uint64_t begun;
    begin(w);
    subscription(w);
    call(w, &d);
    pass(w, 10);
    assert_int_equal(told.opens, 1);
    begun = w->now;
    go_mute(w);
    pass(w, KEEPALIVE_MS + TIMEOUT_MS - 100);
    assert_int_equal(w->disconnected, 0);
    world_until(w, w->stream_count == 3);
    assert_true(w->now - begun <= KEEPALIVE_MS + TIMEOUT_MS + BACKOFF_MS);
    pass(w, 10);
    assert_int_equal(told.opens, 2);
    assert_int_equal(told.gaps, 1);
    assert_int_equal(told.ends, 1);     /* of the call */
    assert_int_equal(w->disconnected, 1);
    assert_int_equal(w->connected, 2);
    assert_int_equal(w->last_error.code, ENSIGN_E_STALLED);
    if (!strstr(w->last_error.text, "localhost:5356 sent nothing for 3") ||
        !strstr(w->last_error.text, "keepalive_timeout_ms (20000)"))
        world_fail(w, "DISCONNECTED says: %s", w->last_error.text);
}

SCRIPT(a_call_that_is_cut_says_why)
{
    ensign_call_desc_t d = streaming();
    const ensign_notice_t *n;
    uint32_t k;
    w->desc.keepalive_ms = 5000;
    w->desc.keepalive_timeout_ms = 1000;
    begin(w);
    k = call(w, &d);
    world_settle(w);
    go_mute(w);
    n = world_end(w, k, ENSIGN_GRPC_UNAVAILABLE);
    assert_int_equal(n->error->code, ENSIGN_E_STALLED);
    assert_non_null(strstr(n->error->text, "sent nothing for 6000 ms"));
}

/* A relay that stops on each connection costs a connection each time, and no event. */
SCRIPT(events_survive_mute_connections)
{
    ensign_publisher_t p;
    w->desc.keepalive_ms = 5000;
    w->desc.keepalive_timeout_ms = 1000;
    begin(w);
    p = publisher(w);
    pass(w, 10);
    for (unsigned i = 0; i < 5; i++) {
        go_mute(w);
        put(w, p);
        put(w, p);
        pass(w, 7000);
        assert_int_equal(told.acks, 2 * i + 2);
        assert_int_equal(service.count, 2 * i + 2);     /* what the relay took has not come to the server */
    }
    assert_int_equal(told.nacks, 0);
    assert_int_equal(w->disconnected, 5);
}

/* ------------------------------------------------------------------ doubt */
SCRIPT(an_ack_timeout_puts_the_link_in_doubt)
{
    ensign_publisher_t p;
    uint64_t begun;
    w->desc.keepalive_ms = ENSIGN_FOREVER;
    begin(w);
    p = publisher(w);
    pass(w, 10);
    put(w, p);
    pass(w, 10);
    assert_int_equal(told.acks, 1);
    begun = w->now;
    go_mute(w);
    put(w, p);
    world_until(w, service.count == 2);
    assert_true(w->now - begun <= 60000 + TIMEOUT_MS + BACKOFF_MS); /* ack_timeout_ms, the PING, the dial */
    pass(w, 10);
    assert_int_equal(told.acks, 2);
    assert_int_equal(told.nacks, 0);
    assert_int_equal(w->disconnected, 1);
}

/* Where the connection is alive, and the stream alone has no answer, there is no doubt. */
SCRIPT(an_ack_timeout_on_a_live_link_is_none)
{
    ensign_publisher_t p;
    begin(w);
    p = publisher(w);
    subscription(w);
    pass(w, 10);
    service.ack = false;
    put(w, p);
    for (unsigned i = 0; i < 59; i++) {
        pass(w, 1000);
        service_deliver(subscribed(w), i, "x", 1);
    }
    assert_int_equal(service.count, 1);
    pass(w, 2000);
    assert_int_equal(service.count, 2);     /* it was sent again */
    assert_int_equal(pings(w), 0);
}

/* Twelve calls, one after the other. */
SCRIPT(two_deadlines_replace_a_mute_connection)
{
    w->desc.keepalive_ms = ENSIGN_FOREVER;
    begin(w);
    asked(w, 5000);
    pass(w, 10);
    assert_int_equal(told.replies, 1);
    go_mute(w);
    for (unsigned i = 0; i < 12; i++) {
        asked(w, 5000);
        pass(w, 5000);
        if (i == 4) assert_int_equal(w->disconnected, 0);
    }
    assert_int_equal(told.replies, 13);
    assert_true(told.late <= 6);        /* two make the doubt, then 20 s for the PING */
    assert_true(told.lost <= 1);        /* one that does not wait meets the backoff */
    assert_int_equal(w->disconnected, 1);
    assert_int_equal(w->last_error.code, ENSIGN_E_STALLED);
}

/* The PING goes before the RST_STREAM of the very call that makes the doubt: no other stream is needed. */
SCRIPT(a_ping_of_doubt_finds_its_stream_open)
{
    w->desc.keepalive_ms = ENSIGN_FOREVER;
    begin(w);
    silent = true;
    asked(w, 1000);
    pass(w, 1000);
    assert_int_equal(pings(w), 0);
    pass(w, HOUR_MS);
    asked(w, 1000);
    pass(w, 1000);
    assert_int_equal(told.late, 2);
    assert_int_equal(pings(w), 1);
    assert_int_equal(police.streamless, 0);
    assert_int_equal(streams_on(w, w->conn[ENSIGN_LINK_RPC]), 0);
}

SCRIPT(two_pings_of_doubt_at_most)
{
    w->desc.keepalive_ms = ENSIGN_FOREVER;
    begin(w);
    for (unsigned round = 1; round <= 3; round++) {
        silent = true;
        for (unsigned i = 0; i < 20; i++) asked(w, 1000), pass(w, 1000);
        assert_int_equal(pings(w), 2 * round);
        assert_int_equal(told.late, 20 * round);
        silent = false;
        asked(w, 1000);
        pass(w, 1000);
        assert_int_equal(told.replies, 21 * round);
    }
    assert_true(police.worst <= 2);
    assert_int_equal(police.streamless, 0);
    assert_int_equal(w->connected, 1);
}

/* One deadline may be short. What comes between two of them shows that the link is alive. */
SCRIPT(answers_between_deadlines_are_no_doubt)
{
    begin(w);
    for (unsigned i = 0; i < 20; i++) {
        silent = true;
        asked(w, 1000);
        pass(w, 1000);
        silent = false;
        asked(w, 1000);
        pass(w, 10);
    }
    assert_int_equal(told.late, 20);
    assert_int_equal(pings(w), 0);
}

/* A call may wait for a stream while those that are open have no deadline: its time counts, too. */
SCRIPT(calls_that_wait_for_a_stream)
{
    ensign_call_desc_t d = streaming();
    world_setting(w, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1);
    begin(w);
    call(w, &d);
    pass(w, 10);
    go_mute(w);
    for (unsigned i = 0; i < 12; i++) asked(w, 5000), pass(w, 5000);
    assert_int_equal(told.ends, 1);
    assert_int_equal(w->disconnected, 1);
    assert_true(told.late <= 6 && told.lost <= 1);
}

/* A server that allows no stream is not asked: it would be a strike. */
SCRIPT(no_doubt_without_an_open_stream)
{
    world_setting(w, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0);
    w->desc.keepalive_ms = 1000;
    begin(w);
    for (unsigned i = 0; i < 12; i++) asked(w, 5000), pass(w, 5000);
    assert_int_equal(told.late, 12);
    assert_int_equal(pings(w), 0);
}

SCRIPT(two_requests_without_an_answer_replace_a_mute_connection)
{
    begin(w);
    pass(w, 10);
    asked(w, 5000);
    pass(w, 10);
    go_mute(w);
    ensign_status(w->client, NULL);
    pass(w, 30000);
    assert_int_equal(told.ends, 1);
    ensign_topic_exists(w->client, "weather", NULL, NULL);
    pass(w, 30000);
    assert_int_equal(told.ends, 2);
    assert_int_equal(w->disconnected, 0);
    pass(w, TIMEOUT_MS);
    assert_int_equal(w->disconnected, 1);
    assert_int_equal(w->last_error.code, ENSIGN_E_STALLED);
}

/* ------------------------------------------------------------------ servers that count */
SCRIPT(too_many_pings_doubles_the_interval)
{
    w->desc.keepalive_ms = 1000;
    begin(w);
    police.min_ms = 10000;
    subscription(w);
    pass(w, 200000);
    assert_int_equal(police.sent_away, 4);      /* after 1, 2, 4, 8 s: 16 s are allowed */
    assert_int_equal(w->connected, 5);
    assert_int_equal(told.opens, 5);
    assert_int_equal(w->last_error.code, ENSIGN_E_GOAWAY);
    assert_non_null(strstr(w->last_error.text, "ENHANCE_YOUR_CALM: too_many_pings"));
    pass(w, HOUR_MS);
    assert_int_equal(police.sent_away, 4);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);  /* what was learnt outlives the connection */
    pass(w, HOUR_MS);
    assert_int_equal(police.sent_away, 4);
    assert_int_equal(told.opens, 6);
}

SCRIPT(other_words_double_nothing)
{
    w->desc.keepalive_ms = 1000;
    begin(w);
    police.min_ms = 10000;
    police.words = "too_much_of_all";
    subscription(w);
    pass(w, 30000);
    assert_true(police.sent_away >= 5);
}

/* Publishers that are busy and quiet, calls that are answered and not, for ten minutes. */
static void ten_minutes(world_t *w, uint32_t keepalive_ms, uint64_t min_ms)
{
    ensign_publisher_t busy, quiet;
    unsigned put_count = 0;
    w->desc.keepalive_ms = keepalive_ms;
    begin(w);
    police.min_ms = min_ms;
    busy = publisher(w);
    quiet = publisher(w);
    subscription(w);
    for (unsigned s = 0; s < 600; s++) {
        bool calm = s % 200 >= 100;             /* a hundred seconds in which nothing is published */
        silent = calm && s % 7 != 0;
        if (!calm) put(w, busy), put_count++;
        if (s % 300 == 0) put(w, quiet), put_count++;
        if (s % 10 < 7) asked(w, 900);
        pass(w, 1000);
    }
    pass(w, 1000);
    assert_int_equal(told.acks, put_count);
    assert_int_equal(told.replies, 420);
    assert_int_equal(police.sent_away, 0);
    assert_int_equal(police.streamless, 0);
    assert_int_equal(w->connected, 1);
}

SCRIPT(ten_minutes_with_a_server_that_counts)
{
    ten_minutes(w, 0, GRPC_MIN_MS);
    world_close(w);
    world_begin(w, w->mode, w->seed);
    ten_minutes(w, 1000, 1000);
    world_close(w);
    world_begin(w, w->mode, w->seed);
    ten_minutes(w, 10000, 10000);
}

/* The same without a word of the server: ten minutes in which nothing is answered but PING. */
SCRIPT(ten_minutes_without_an_answer)
{
    begin(w);
    silent = true;
    subscription(w);
    for (unsigned s = 0; s < 600; s++) {
        if (s % 3 == 0) asked(w, 900);
        pass(w, 1000);
    }
    assert_int_equal(told.late, 200);
    assert_int_equal(police.sent_away, 0);
    assert_int_equal(police.streamless, 0);
    assert_true(police.pings >= 2 && police.worst <= 2);
    assert_int_equal(w->connected, 1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(a_quiet_stream_is_asked_after_each_keepalive_ms),
        IN_MODES(only_streams_without_end_get_pings_by_default),
        IN_MODES(no_ping_without_an_open_stream),
        IN_MODES(silence_without_an_allowed_stream_ends_the_connection),
        IN_MODES(keepalive_ends_with_its_stream),
        IN_MODES(what_comes_puts_the_ping_off),
        IN_MODES(what_does_not_answer_is_replaced),
        IN_MODES(a_call_that_is_cut_says_why),
        IN_MODES(events_survive_mute_connections),
        IN_MODES(an_ack_timeout_puts_the_link_in_doubt),
        IN_MODES(an_ack_timeout_on_a_live_link_is_none),
        IN_MODES(two_deadlines_replace_a_mute_connection),
        IN_MODES(a_ping_of_doubt_finds_its_stream_open),
        IN_MODES(two_pings_of_doubt_at_most),
        IN_MODES(answers_between_deadlines_are_no_doubt),
        IN_MODES(calls_that_wait_for_a_stream),
        IN_MODES(no_doubt_without_an_open_stream),
        IN_MODES(two_requests_without_an_answer_replace_a_mute_connection),
        IN_MODES(too_many_pings_doubles_the_interval),
        IN_MODES(other_words_double_nothing),
        IN_MODES(ten_minutes_with_a_server_that_counts),
        IN_MODES(ten_minutes_without_an_answer),
    };
    return cmocka_run_group_tests_name("keepalive", tests, NULL, NULL);
}
