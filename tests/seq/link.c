/* The connection itself: dialling, backing off, giving up, and what it costs in memory. */
#include "service.h"

static uint32_t call(world_t *w, bool wait)
{
    ensign_call_desc_t d;
    memset(&d, 0, sizeof d);
    d.method = "/test.Service/Method";
    d.wait_for_ready = wait;
    return ensign_call_open(w->client, &d).id;
}

/* ------------------------------------------------------------------ connecting */
SCRIPT(nothing_is_done_without_need)
{
    ensign_link_t l;
    world_create(w);
    world_pass(w, 100000);
    assert_int_equal(w->stream_count, 0);
    ensign_link(w->client, ENSIGN_LINK_AUTH, &l);
    assert_int_equal(l.todo, ENSIGN_LINK_IDLE);
    assert_int_equal(w->dials[ENSIGN_LINK_AUTH], 0);
    assert_true(w->dials[ENSIGN_LINK_RPC] <= 1);
}

SCRIPT(connected_and_disconnected_are_told)
{
    const ensign_notice_t *n;
    ensign_link_t l;
    world_create(w);
    call(w, true);
    n = world_expect(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CONNECTED);
    assert_false(n->last);
    assert_int_equal(n->handle, ENSIGN_CLIENT);
    ensign_link(w->client, ENSIGN_LINK_RPC, &l);
    assert_int_equal(l.todo, ENSIGN_LINK_RUN);
    call(w, true);
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    n = world_expect(w, ENSIGN_CLIENT, ENSIGN_NOTICE_DISCONNECTED);
    assert_non_null(n->error);
    assert_int_equal(n->error->code, ENSIGN_E_CLOSED);
    assert_int_equal(n->error->native, ECONNRESET);
    assert_true(n->error->text[0] != 0);
}

SCRIPT(answers_of_an_old_attempt_are_passed_over)
{
    ensign_link_t l;
    uint32_t old;
    world_create(w);
    call(w, true);
    world_stream(w, 0);
    ensign_link(w->client, ENSIGN_LINK_RPC, &l);
    old = l.attempt;
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    call(w, true);
    world_stream(w, 1);
    assert_int_equal(ensign_link_down(w->client, ENSIGN_LINK_RPC, old, ECONNRESET, w->now), ENSIGN_OK);
    assert_int_equal(ensign_link_up(w->client, ENSIGN_LINK_RPC, old, 0, w->now), ENSIGN_OK);
    assert_int_equal(ensign_resolved(w->client, ENSIGN_LINK_RPC, old, NULL, 0, 1), ENSIGN_OK);
    world_settle(w);
    ensign_link(w->client, ENSIGN_LINK_RPC, &l);
    assert_int_equal(l.todo, ENSIGN_LINK_RUN);
    assert_int_equal(w->conn[ENSIGN_LINK_RPC]->number, 1);
}

SCRIPT(a_name_that_cannot_be_resolved)
{
    const ensign_notice_t *n;
    uint32_t k;
    w->resolve_fails = true;
    w->desc.endpoint = "nowhere.example:1234";
    world_create(w);
    k = call(w, false);
    n = world_expect(w, ENSIGN_CLIENT, ENSIGN_NOTICE_DISCONNECTED);
    assert_int_equal(n->error->code, ENSIGN_E_RESOLVE);
    assert_int_equal(n->error->native, -2);
    assert_non_null(strstr(n->error->text, "nowhere.example"));
    world_end(w, k, ENSIGN_GRPC_UNAVAILABLE);
    k = call(w, true);
    world_until(w, w->resolves[ENSIGN_LINK_RPC] >= 3);
    w->resolve_fails = false;
    world_stream(w, 0);
}

SCRIPT(a_dial_without_an_answer_ends)
{
    const ensign_notice_t *n;
    uint64_t began = w->now;
    w->dial[ENSIGN_LINK_RPC] = DIAL_SILENT;
    w->desc.connect_timeout_ms = 3000;
    world_create(w);
    call(w, true);
    n = world_expect(w, ENSIGN_CLIENT, ENSIGN_NOTICE_DISCONNECTED);
    assert_int_equal(n->error->code, ENSIGN_E_STALLED);
    assert_in_range(w->now - began, 3000, 3010);
    w->dial[ENSIGN_LINK_RPC] = DIAL_ACCEPT;
    world_stream(w, 0);
}

SCRIPT(a_server_that_speaks_something_else)
{
    const ensign_notice_t *n;
    static const char text[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    conn_t *c;
    world_create(w);
    call(w, true);
    world_until(w, (c = w->conn[ENSIGN_LINK_RPC]) != NULL);
    nghttp2_session_del(c->session);
    c->session = NULL;
    c->out.len = c->out_at = 0;
    bytes_add(&c->out, text, sizeof text - 1);
    n = world_expect(w, ENSIGN_CLIENT, ENSIGN_NOTICE_DISCONNECTED);
    assert_int_equal(n->error->code, ENSIGN_E_PROTOCOL);
    world_until(w, w->stream_count > 0);
}

SCRIPT(waits_grow_and_stay_within_their_limit)
{
    uint32_t limit = 100, seen = 0;
    int i;
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    w->desc.backoff_max_ms = 5000;
    w->patience_ms = 60000;
    world_create(w);
    call(w, true);
    for (i = 0; i < 20; i++) {
        const ensign_notice_t *n = world_expect(w, ENSIGN_CLIENT, ENSIGN_NOTICE_DISCONNECTED);
        assert_int_equal(n->error->code, ENSIGN_E_CONNECT);
        assert_int_equal(n->error->native, ECONNREFUSED);
        if (n->as.disconnected.retry_in_ms > limit) {
            world_fail(w, "wait %d is %u ms, %u allowed", i, n->as.disconnected.retry_in_ms, limit);
        }
        if (n->as.disconnected.retry_in_ms > seen) seen = n->as.disconnected.retry_in_ms;
        limit = limit * 2 < 5000 ? limit * 2 : 5000;
    }
    assert_true(seen > 1000);
    w->dial[ENSIGN_LINK_RPC] = DIAL_ACCEPT;
    world_stream(w, 0);
}

SCRIPT(giving_up_is_final)
{
    const ensign_notice_t *n;
    uint64_t began = w->now;
    uint32_t k;
    unsigned dials;
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    w->desc.give_up_after_ms = 10000;
    world_create(w);
    k = call(w, true);
    n = world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_FAILED);
    assert_non_null(n->error);
    assert_in_range(w->now - began, 9000, 45000);
    assert_int_not_equal(world_await(w, k, ENSIGN_NOTICE_END)->as.end.status, ENSIGN_GRPC_OK);
    dials = w->dials[ENSIGN_LINK_RPC];
    world_pass(w, 100000);
    assert_int_equal(w->dials[ENSIGN_LINK_RPC], dials);
    assert_int_equal(call(w, true), 0);
}

static void refuse_stream(world_t *w, stream_t *s)
{
    (void)w;
    peer_refuse(s, ENSIGN_GRPC_UNAVAILABLE, "ensign broker is not available");
}

/* Streams that are refused again and again are failing too, though the connection is well. */
SCRIPT(giving_up_on_streams)
{
    ensign_subscription_desc_t d;
    ensign_subscription_t s;
    const ensign_notice_t *n;
    uint64_t began = w->now;
    memset(&d, 0, sizeof d);
    w->on_headers = refuse_stream;
    w->desc.give_up_after_ms = 10000;
    w->patience_ms = 100000;
    world_create(w);
    s = ensign_subscription_open(w->client, &d);
    n = world_await(w, s.id, ENSIGN_NOTICE_END);
    assert_true(n->last);
    assert_non_null(n->error);
    assert_in_range(w->now - began, 9000, 45000);
}

/* give_up_after_ms is of failing without a break: what failed before a recovery does not count. */
SCRIPT(a_recovery_stops_giving_up)
{
    w->desc.give_up_after_ms = 10000;
    w->desc.backoff_max_ms = 1000;
    w->patience_ms = 100000;
    world_create(w);
    for (size_t i = 0; i < 3; i++) {
        uint32_t k = call(w, true);
        w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
        world_pass(w, 7000);
        w->dial[ENSIGN_LINK_RPC] = DIAL_ACCEPT;
        peer_finish(world_stream(w, i), 0, NULL, NULL);
        world_end(w, k, ENSIGN_GRPC_OK);
        world_settle(w);
        world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    }
    world_hear(w);
    assert_int_equal(w->failed, 0);
}

/* So with a stream: it has delivered something between two rows of refusals. */
SCRIPT(a_stream_of_use_stops_giving_up)
{
    ensign_subscription_desc_t d;
    ensign_subscription_t s;
    size_t at = 0;
    memset(&d, 0, sizeof d);
    w->desc.give_up_after_ms = 10000;
    w->desc.backoff_max_ms = 1000;
    w->patience_ms = 100000;
    world_create(w);
    s = ensign_subscription_open(w->client, &d);
    for (uint64_t i = 0; i < 3; i++) {
        uint64_t began = w->now;
        while (w->now - began < 7000) refuse_stream(w, world_stream(w, at++));
        service_ready(world_stream(w, at), 2);
        world_await(w, s.id, ENSIGN_NOTICE_OPEN);
        service_deliver(w->streams[at], i, "rain", 4);
        world_await(w, s.id, ENSIGN_NOTICE_EVENT); /* and no END */
        refuse_stream(w, w->streams[at++]);
        world_settle(w);
    }
}

SCRIPT(a_token_does_not_go_over_plaintext)
{
    size_t i;
    w->desc.endpoint = "ensign.example:5356";
    w->desc.token = "secret";
    if (ensign_create(&w->desc, &w->client, &w->why) != ENSIGN_OK) {
        assert_null(w->client);
        assert_true(w->why.text[0] != 0);
        return;
    }
    call(w, false);
    world_pass(w, 5000);
    for (i = 0; i < w->stream_count; i++) assert_null(peer_field(w->streams[i], "authorization"));
}

SCRIPT(closing_at_rest)
{
    world_create(w);
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 1000), ENSIGN_OK);
    world_expect(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED);
    assert_int_equal(call(w, true), 0);
    assert_int_equal(ensign_error(w->client)->code, ENSIGN_E_STATE);
}

/* ------------------------------------------------------------------ wake, time */
SCRIPT(work_that_a_call_leaves_wakes_once)
{
    unsigned before;
    uint32_t k;
    ensign_call_t h;
    world_create(w);
    k = call(w, true);
    world_stream(w, 0);
    world_settle(w);
    world_hear(w);
    before = w->wakes;
    h.id = k;
    assert_int_equal(ensign_call_send(w->client, h, text_slice("a"), 0), ENSIGN_OK);
    assert_int_equal(w->wakes, before + 1);
    assert_int_equal(ensign_timeout(w->client, w->now), 0);
    assert_int_equal(ensign_call_send(w->client, h, text_slice("b"), 0), ENSIGN_OK);
    assert_int_equal(w->wakes, before + 1);
    world_settle(w);
    assert_int_equal(ensign_call_send(w->client, h, text_slice("c"), 0), ENSIGN_OK);
    assert_int_equal(w->wakes, before + 2);
}

SCRIPT(a_clock_that_runs_backwards_is_clamped)
{
    uint32_t k;
    world_create(w);
    k = call(w, true);
    world_stream(w, 0);
    w->now += 100000;
    world_settle(w);
    w->now -= 50000;
    world_settle(w);
    peer_message(w->streams[0], "fine", 4);
    assert_text(world_await(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "fine");
}

/* ------------------------------------------------------------------ memory */
enum { STEADY = 1500 };

static void publish_some(world_t *w, ensign_publisher_t p, int count)
{
    static char data[100];
    int put = 0, acked = 0;
    while (acked < count) {
        const ensign_notice_t *n;
        ensign_event_t e;
        memset(&e, 0, sizeof e);
        e.data = slice_of(data, sizeof data);
        while (put < count && ensign_publish(w->client, p, &e) == ENSIGN_OK) put++;
        while ((n = world_pull(w, p.id)) != NULL) acked += n->type == ENSIGN_NOTICE_ACK ? 1 : 0;
        if (acked < count) world_advance(w, "acks");
    }
    world_settle(w);
}

static void receive_some(world_t *w, ensign_subscription_t s, stream_t *from, int count)
{
    static char data[100];
    int i;
    for (i = 0; i < count; i++) service_deliver(from, (uint64_t)i, data, sizeof data);
    for (i = 0; i < count; i++) {
        const ensign_notice_t *n = world_await(w, s.id, ENSIGN_NOTICE_EVENT);
        assert_int_equal(ensign_ack(w->client, s, n->as.event->token), ENSIGN_OK);
    }
    world_settle(w);
}

SCRIPT(steady_state_allocates_nothing)
{
    ensign_publisher_desc_t pd;
    ensign_subscription_desc_t sd;
    ensign_publisher_t p;
    ensign_subscription_t s;
    ensign_stats_t stats;
    uint64_t before;
    service_reset();
    service.ack = true;
    world_create(w);
    memset(&pd, 0, sizeof pd);
    memset(&sd, 0, sizeof sd);
    pd.topic = "weather";
    pd.buffer_bytes = 16384;
    sd.window_bytes = 16384;
    s = ensign_subscription_open(w->client, &sd);
    world_request(w, world_stream(w, 0));
    service_ready(w->streams[0], 2);
    world_await(w, s.id, ENSIGN_NOTICE_OPEN);
    receive_some(w, s, w->streams[0], STEADY);
    before = w->calls;
    receive_some(w, s, w->streams[0], STEADY);
    assert_int_equal(w->calls, before);
    w->on_message = NULL;
    p = ensign_publisher_open(w->client, &pd);
    w->streams[0]->in_at = w->streams[0]->in.len;
    w->on_message = service_publish;
    publish_some(w, p, STEADY);
    before = w->calls;
    publish_some(w, p, STEADY);
    assert_int_equal(w->calls, before);
    assert_int_equal(ensign_stats(w->client, ENSIGN_CLIENT, &stats), ENSIGN_OK);
    assert_int_equal(stats.memory, w->live);
    assert_int_equal(stats.allocations, w->calls);
    assert_true(w->live_peak <= ensign_memory_bound(&w->desc) + ensign_publisher_memory_bound(&pd) +
                                    ensign_subscription_memory_bound(&sd));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(nothing_is_done_without_need), IN_MODES(connected_and_disconnected_are_told),
        IN_MODES(answers_of_an_old_attempt_are_passed_over), IN_MODES(a_name_that_cannot_be_resolved),
        IN_MODES(a_dial_without_an_answer_ends), IN_MODES(a_server_that_speaks_something_else),
        IN_MODES(waits_grow_and_stay_within_their_limit), IN_MODES(giving_up_is_final),
        IN_MODES(giving_up_on_streams), IN_MODES(a_token_does_not_go_over_plaintext),
        IN_MODES(a_recovery_stops_giving_up), IN_MODES(a_stream_of_use_stops_giving_up),
        IN_MODES(closing_at_rest),
        IN_MODES(work_that_a_call_leaves_wakes_once), IN_MODES(a_clock_that_runs_backwards_is_clamped),
        IN_MODES(steady_state_allocates_nothing),
    };
    int rc = cmocka_run_group_tests_name("link", tests, NULL, NULL);
    service_reset();
    return rc;
}
