/* Subscriptions: events in order, acks in batches, gaps at their place, a window that stops the sender. */
#include "service.h"

static const char *const weather[] = { "weather" };

static ensign_subscription_desc_t of_weather(void)
{
    ensign_subscription_desc_t d;
    memset(&d, 0, sizeof d);
    d.topics = weather;
    d.topic_count = 1;
    return d;
}

static ensign_subscription_t subscribe(world_t *w, const ensign_subscription_desc_t *d)
{
    ensign_subscription_t s = ensign_subscription_open(w->client, d);
    if (!s.id) world_fail(w, "ensign_subscription_open refused a good subscription");
    return s;
}

/* The i-th stream, its first message read and answered. */
static stream_t *ready(world_t *w, size_t i)
{
    stream_t *s = world_stream(w, i);
    ensign_slice_t m = world_request(w, s);
    ensign_slice_t f;
    assert_string_equal(peer_field(s, ":path"), "/ensign.v1beta1.Ensign/Subscribe");
    assert_true(dec_field(m, 3, &f));
    service_ready(s, 2);
    return s;
}

static void deliver_text(stream_t *s, uint64_t number, const char *text)
{
    service_deliver(s, number, text, strlen(text));
}

/* The next EVENT, OPEN passed over; a GAP before it is a failure. */
static const ensign_event_t *event(world_t *w, ensign_subscription_t s, const char *text)
{
    const ensign_notice_t *n;
    do n = world_next(w, s.id); while (n->type == ENSIGN_NOTICE_OPEN);
    if (n->type != ENSIGN_NOTICE_EVENT)
        world_fail(w, "a notice of type %d instead of the event %s", (int)n->type, text);
    assert_text(n->as.event->data, text);
    return n->as.event;
}

static const ensign_notice_t *gap(world_t *w, ensign_subscription_t s)
{
    const ensign_notice_t *n;
    do n = world_next(w, s.id); while (n->type == ENSIGN_NOTICE_OPEN);
    if (n->type != ENSIGN_NOTICE_GAP) world_fail(w, "a notice of type %d instead of a GAP", (int)n->type);
    return n;
}

/* ------------------------------------------------------------------ the wire */
SCRIPT(the_bytes_of_a_subscription)
{
    static const uint8_t opening[] = { 0,   0,    0, 0,   0x0f, 0x1a, 0x0d, 0x0a, 2,   'm',
                                       'e', 0x12, 7, 'w', 'e',  'a',  't',  'h',  'e', 'r' };
    ensign_subscription_desc_t d = of_weather();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    sub = subscribe(w, &d);
    s = world_stream(w, 0);
    world_until(w, s->in.len >= sizeof opening);
    world_settle(w);
    assert_slice(bytes_slice(&s->in), opening, sizeof opening);
    assert_false(s->half_closed);
    world_silent(w, sub.id);
    service_ready(s, 2);
    assert_int_equal(world_expect(w, sub.id, ENSIGN_NOTICE_OPEN)->as.open.times, 1);
    d.topic_count = 0;
    subscribe(w, &d);
    s = world_stream(w, 1);
    assert_slice(world_request(w, s), "\x1a\x04\x0a\x02me", 6);
}

SCRIPT(all_fields_of_a_delivered_event)
{
    ensign_subscription_desc_t d = of_weather();
    ensign_subscription_t sub;
    const ensign_event_t *e;
    ensign_slice_t key, value;
    size_t at = 0;
    world_create(w);
    sub = subscribe(w, &d);
    deliver_text(ready(w, 0), 0x1234, "sunny");
    e = event(w, sub, "sunny");
    assert_memory_equal(e->id.b, "\1\2\3\4\5\6\0\0\x12\x34", 10);
    assert_memory_equal(e->topic_id.b, weather_id, 16);
    assert_text(e->topic_name, "weather");
    assert_int_equal(e->mimetype, 50);
    assert_text(e->type.name, "Report");
    assert_int_equal(e->type.major, 1);
    assert_int_equal(e->type.minor, 2);
    assert_int_equal(e->type.patch, 3);
    assert_int_equal(e->created.seconds, 1600000000);
    assert_int_equal(e->created.nanos, 7);
    assert_int_equal(e->committed.seconds, 1600000001);
    assert_int_equal(e->committed.nanos, 8);
    assert_text(e->publisher_id, "publisher");
    assert_text(e->publisher_client_id, "client");
    assert_text(e->publisher_address, "1.2.3.4:5");
    assert_text(e->publisher_agent, "agent");
    assert_int_equal(e->offset, 0x1234);
    assert_true(ensign_metadata_next(e, &at, &key, &value));
    assert_text(key, "key");
    assert_text(value, "value");
    assert_false(ensign_metadata_next(e, &at, &key, &value));
    assert_int_equal(ensign_ack(w->client, sub, e->token), ENSIGN_OK);
}

SCRIPT(events_come_in_order_whatever_their_size)
{
    static const size_t sizes[] = { 0, 1, 100, 5000, 3, 70000, 300000, 10, 1000000 };
    static char data[1000000];
    size_t count = w->mode == BYTE ? 6 : COUNT(sizes), i;
    ensign_subscription_desc_t d = of_weather();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    d.window_bytes = 4096;
    sub = subscribe(w, &d);
    s = ready(w, 0);
    world_expect(w, sub.id, ENSIGN_NOTICE_OPEN);
    s->released = s->pulled = 1;
    s->freed = (int64_t)s->sizes[0];
    world_audit(s, sub.id, 4096);
    for (i = 0; i < count; i++) {
        memset(data, (int)i + 'a', sizes[i]);
        service_deliver(s, i, data, sizes[i]);
    }
    for (i = 0; i < count; i++) {
        const ensign_notice_t *n = world_expect(w, sub.id, ENSIGN_NOTICE_EVENT);
        assert_int_equal(n->as.event->id.b[9], i);
        assert_int_equal(n->as.event->data.len, sizes[i]);
        if (sizes[i]) assert_int_equal(n->as.event->data.ptr[sizes[i] - 1], (int)i + 'a');
    }
    world_silent(w, sub.id);
}

/* ------------------------------------------------------------------ acks */
/* The manual's word holds for events of any size: once two buffers have theirs, nothing is taken or given back,
 * whether or not the next event comes while one is read. The bound holds all the while. */
SCRIPT(large_events_allocate_nothing_while_they_flow)
{
    enum { WINDOW = 4096, MOST = 40000, EVENTS = 40, WARM = 6 };
    static char data[MOST];
    ensign_subscription_desc_t d = of_weather();
    ensign_subscription_t sub;
    uint64_t calls = 0;
    stream_t *s;
    world_create(w);
    d.window_bytes = WINDOW;
    d.max_event_bytes = MOST + 500;
    sub = subscribe(w, &d);
    s = ready(w, 0);
    world_expect(w, sub.id, ENSIGN_NOTICE_OPEN);
    s->released = s->pulled = 1;
    s->freed = (int64_t)s->sizes[0];
    world_audit(s, sub.id, WINDOW);
    for (size_t i = 0; i < EVENTS; i++) {
        const ensign_notice_t *n;
        service_deliver(s, i, data, i < WARM ? MOST : WINDOW + world_below(w, MOST - WINDOW));
        if (i % 3 == 0) service_deliver(s, i, data, 100); /* behind it, and not pulled yet */
        do n = world_next(w, sub.id); while (n->type == ENSIGN_NOTICE_OPEN);
        assert_int_equal(n->type, ENSIGN_NOTICE_EVENT);
        assert_int_equal(ensign_ack(w->client, sub, n->as.event->token), ENSIGN_OK);
        if (i % 3 == 0) world_expect(w, sub.id, ENSIGN_NOTICE_EVENT);
        if (i == WARM) calls = w->calls;
        assert_true(w->live <= ensign_memory_bound(&w->desc) + ensign_subscription_memory_bound(&d));
    }
    assert_int_equal(w->calls, calls);
}

SCRIPT(acks_and_nacks_on_the_wire)
{
    ensign_subscription_desc_t d = of_weather();
    ensign_subscription_t sub;
    stream_t *s;
    uint64_t i;
    world_create(w);
    sub = subscribe(w, &d);
    s = ready(w, 0);
    for (i = 0; i < 30; i++) deliver_text(s, i, "x");
    for (i = 0; i < 30; i++) {
        const ensign_event_t *e = event(w, sub, "x");
        if (i == 7)
            assert_int_equal(ensign_nack(w->client, sub, e->token, ENSIGN_NACK_UNPROCESSED), ENSIGN_OK);
        else assert_int_equal(ensign_ack(w->client, sub, e->token), ENSIGN_OK);
    }
    for (i = 0; i < 30; i++) {
        ensign_slice_t m = world_request(w, s), f, id;
        assert_true(dec_field(m, i == 7 ? 2 : 1, &f));
        assert_true(dec_field(f, 1, &id));
        assert_int_equal(id.len, 10);
        assert_int_equal(id.ptr[9], i);
        if (i == 7) assert_int_equal(dec_uint(f, 2), 100);
    }
    world_settle(w);
    assert_int_equal(s->in_at, s->in.len);
}

SCRIPT(tokens_turn_stale)
{
    ensign_subscription_desc_t d = of_weather();
    ensign_subscription_t sub;
    uint64_t token[6], i;
    stream_t *s;
    world_create(w);
    d.max_unacked = 4;
    sub = subscribe(w, &d);
    s = ready(w, 0);
    for (i = 0; i < 6; i++) deliver_text(s, i, "x");
    for (i = 0; i < 6; i++) token[i] = event(w, sub, "x")->token;
    assert_int_equal(ensign_ack(w->client, sub, token[0]), ENSIGN_E_STALE);
    assert_int_equal(ensign_nack(w->client, sub, token[1], 100), ENSIGN_E_STALE);
    assert_int_equal(ensign_ack(w->client, sub, token[5]), ENSIGN_OK);
    assert_int_equal(ensign_ack(w->client, sub, token[2]), ENSIGN_OK);
    assert_true(ensign_ack(w->client, sub, token[5] + 1000) < 0);
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    s = ready(w, 1);
    deliver_text(s, 9, "new");
    assert_non_null(gap(w, sub));
    i = event(w, sub, "new")->token;
    assert_int_equal(ensign_ack(w->client, sub, token[3]), ENSIGN_E_STALE);
    assert_int_equal(ensign_ack(w->client, sub, token[4]), ENSIGN_E_STALE);
    assert_int_equal(ensign_ack(w->client, sub, i), ENSIGN_OK);
    assert_true(dec_field(world_request(w, s), 1, &(ensign_slice_t){ NULL, 0 }));
}

/* ------------------------------------------------------------------ gaps */
SCRIPT(a_gap_stands_among_the_events)
{
    ensign_subscription_desc_t d = of_weather();
    const ensign_notice_t *n;
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    sub = subscribe(w, &d);
    s = ready(w, 0);
    deliver_text(s, 1, "one");
    deliver_text(s, 2, "two");
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    s = ready(w, 1);
    deliver_text(s, 3, "three");
    world_settle(w);
    event(w, sub, "one");
    event(w, sub, "two");
    n = gap(w, sub);
    assert_int_equal(n->as.gap.times, 1);
    assert_int_equal(n->as.gap.since.seconds, 1600000001);
    assert_non_null(n->error);
    event(w, sub, "three");
    world_silent(w, sub.id);
}

SCRIPT(gaps_with_nothing_between_them_merge)
{
    ensign_subscription_desc_t d = of_weather();
    ensign_subscription_t sub;
    stream_t *s;
    int i;
    world_create(w);
    sub = subscribe(w, &d);
    s = ready(w, 0);
    deliver_text(s, 1, "one");
    for (i = 1; i < 4; i++) {
        world_settle(w);
        world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
        s = ready(w, (size_t)i);
    }
    deliver_text(s, 2, "two");
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    ready(w, 4);
    world_settle(w);
    event(w, sub, "one");
    assert_int_equal(gap(w, sub)->as.gap.times, 3);
    event(w, sub, "two");
    assert_int_equal(gap(w, sub)->as.gap.times, 1);
    assert_null(world_pull(w, sub.id));
}

SCRIPT(a_reconnect_keeps_the_handle)
{
    ensign_subscription_desc_t d = of_weather();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    sub = subscribe(w, &d);
    s = ready(w, 0);
    assert_int_equal(world_expect(w, sub.id, ENSIGN_NOTICE_OPEN)->as.open.times, 1);
    peer_finish(s, ENSIGN_GRPC_UNAVAILABLE, "maintenance", NULL);
    s = ready(w, 1);
    assert_int_equal(world_await(w, sub.id, ENSIGN_NOTICE_OPEN)->as.open.times, 2);
    assert_int_equal(s->conn->number, 0);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    s = ready(w, 2);
    assert_int_equal(world_await(w, sub.id, ENSIGN_NOTICE_OPEN)->as.open.times, 3);
    peer_finish(s, 0, NULL, NULL);
    s = ready(w, 3);
    assert_int_equal(world_await(w, sub.id, ENSIGN_NOTICE_OPEN)->as.open.times, 4);
    deliver_text(s, 1, "here");
    world_await(w, sub.id, ENSIGN_NOTICE_EVENT);
}

SCRIPT(an_event_that_is_too_large_is_a_gap)
{
    static char big[3000];
    ensign_subscription_desc_t d = of_weather();
    const ensign_notice_t *n;
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    d.max_event_bytes = 1024;
    sub = subscribe(w, &d);
    s = ready(w, 0);
    deliver_text(s, 1, "small");
    service_deliver(s, 2, big, sizeof big);
    world_settle(w);
    event(w, sub, "small");
    n = gap(w, sub);
    assert_non_null(n->error);
    assert_int_equal(n->error->code, ENSIGN_E_TOO_LARGE);
    world_pass(w, 1000);
    if (s->closed) s = ready(w, 1);
    deliver_text(s, 3, "after");
    do n = world_next(w, sub.id); while (n->type == ENSIGN_NOTICE_OPEN || n->type == ENSIGN_NOTICE_GAP);
    assert_int_equal(n->type, ENSIGN_NOTICE_EVENT);
    assert_text(n->as.event->data, "after");
}

/* A window larger than the limit takes in the large event whole, and what comes behind it. */
SCRIPT(events_behind_one_that_is_too_large_are_not_lost)
{
    static char big[3000];
    ensign_subscription_desc_t d = of_weather();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    d.max_event_bytes = 1024;
    sub = subscribe(w, &d);
    s = ready(w, 0);
    service_deliver(s, 1, big, sizeof big);
    deliver_text(s, 2, "one");
    service_deliver(s, 3, big, sizeof big);
    service_deliver(s, 4, big, sizeof big);
    deliver_text(s, 5, "two");
    deliver_text(s, 6, "three");
    world_settle(w);
    assert_int_equal(gap(w, sub)->error->code, ENSIGN_E_TOO_LARGE);
    event(w, sub, "one");
    assert_int_equal(gap(w, sub)->as.gap.times, 2);
    event(w, sub, "two");
    event(w, sub, "three");
    assert_false(s->closed);
}

SCRIPT(nonsense_from_the_server_costs_a_stream_only)
{
    ensign_subscription_desc_t d = of_weather();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    sub = subscribe(w, &d);
    s = ready(w, 0);
    deliver_text(s, 1, "one");
    peer_message(s, "\x0a\xff\xff\xff\x7f", 5);       /* what is no Event is a GAP */
    world_settle(w);
    event(w, sub, "one");
    assert_non_null(gap(w, sub)->error);
    world_pass(w, 1000);
    if (s->closed) s = ready(w, 1);             /* the stream may go on, or be opened again */
    deliver_text(s, 2, "more");
    event(w, sub, "more");
    peer_message(s, "\x12\xff", 2);
    s = ready(w, w->stream_count);
    deliver_text(s, 2, "two");
    gap(w, sub);
    event(w, sub, "two");
    assert_int_equal(s->conn->number, 0);
}

/* The wrapper is whole, what it wraps is no Event: that one is left out, and told at its place. */
SCRIPT(an_event_that_is_no_event_is_a_gap)
{
    ensign_subscription_desc_t d = of_weather();
    bytes_t wrap = {0}, reply = {0};
    ensign_subscription_t sub;
    const ensign_notice_t *n;
    stream_t *s;
    world_create(w);
    sub = subscribe(w, &d);
    s = ready(w, 0);
    deliver_text(s, 1, "one");
    enc_bytes(&wrap, 1, "\1\2\3\4\5\6\0\0\0\2", 10);
    enc_bytes(&wrap, 2, weather_id, 16);
    enc_bytes(&wrap, 9, "\x12\xff", 2);
    enc_message(&reply, 1, &wrap);
    peer_send(s, &reply);
    deliver_text(s, 3, "three");
    event(w, sub, "one");
    n = gap(w, sub);
    assert_int_equal(n->error->code, ENSIGN_E_FORMAT);
    assert_non_null(strstr(n->error->text, "is no Event message; it is left out"));
    assert_int_equal(n->as.gap.times, 1);
    assert_int_equal(n->as.gap.since.seconds, 1600000001); /* of the event before it */
    assert_text(n->as.gap.topic, "weather");
    event(w, sub, "three");
    world_silent(w, sub.id);
    assert_int_equal(w->stream_count, 1);
}

/* ------------------------------------------------------------------ flow */
SCRIPT(a_held_subscription_stops_its_sender)
{
    ensign_subscription_desc_t d = of_weather();
    ensign_subscription_t sub;
    static char text[300];
    stream_t *s;
    size_t i;
    world_create(w);
    d.window_bytes = 4096;
    sub = subscribe(w, &d);
    s = ready(w, 0);
    world_expect(w, sub.id, ENSIGN_NOTICE_OPEN);
    s->released = s->pulled = 1;
    s->freed = (int64_t)s->sizes[0];
    world_audit(s, sub.id, 4096);
    assert_int_equal(ensign_hold(w->client, sub.id, true), ENSIGN_OK);
    for (i = 0; i < 100; i++) service_deliver(s, i, text, sizeof text);
    world_settle(w);
    while (world_pull(w, 0)) {}
    world_pass(w, 100000);
    assert_true(s->out_at <= 4096 + s->sizes[0]);
    assert_true(s->out_at >= 2048);
    assert_int_equal(ensign_hold(w->client, sub.id, false), ENSIGN_OK);
    for (i = 0; i < 100; i++) {
        const ensign_notice_t *n;
        do n = world_next(w, 0); while (n->handle == ENSIGN_CLIENT);
        assert_int_equal(n->type, ENSIGN_NOTICE_EVENT);
        assert_int_equal(n->as.event->id.b[9], i);
        assert_int_equal(n->as.event->data.len, sizeof text);
    }
    world_silent(w, sub.id);
}

/* ------------------------------------------------------------------ the end */
SCRIPT(closing_cancels_the_stream)
{
    ensign_subscription_desc_t d = of_weather();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    sub = subscribe(w, &d);
    s = ready(w, 0);
    deliver_text(s, 1, "one");
    deliver_text(s, 2, "two");
    event(w, sub, "one");
    world_settle(w);
    assert_int_equal(ensign_close(w->client, sub.id, ENSIGN_FOREVER), ENSIGN_OK);
    world_settle(w);
    event(w, sub, "two"); /* what is here is still given */
    assert_null(world_expect(w, sub.id, ENSIGN_NOTICE_END)->error);
    world_until(w, s->reset);
    assert_int_equal(s->reset_code, NGHTTP2_CANCEL);
    world_hear(w);
    assert_int_equal(ensign_close(w->client, sub.id, ENSIGN_FOREVER), ENSIGN_E_HANDLE);
    sub = subscribe(w, &d);
    assert_int_equal(ensign_close(w->client, sub.id, ENSIGN_FOREVER), ENSIGN_OK);
    assert_true(world_expect(w, sub.id, ENSIGN_NOTICE_END)->last);
    world_pass(w, 10000);
    assert_true(w->stream_count <= 2);
}

SCRIPT(refused_for_good)
{
    static const struct { int status; const char *text; } table[] = {
        { ENSIGN_GRPC_FAILED_PRECONDITION, "no topics available" },
        { ENSIGN_GRPC_PERMISSION_DENIED, "not authorized to perform this action" },
        { ENSIGN_GRPC_INVALID_ARGUMENT, "could not parse topic" },
        { ENSIGN_GRPC_NOT_FOUND, "topic not found" },
        { ENSIGN_GRPC_UNIMPLEMENTED, "unknown method" },
    };
    ensign_subscription_desc_t d = of_weather();
    size_t i;
    world_create(w);
    for (i = 0; i < COUNT(table); i++) {
        ensign_subscription_t sub = subscribe(w, &d);
        const ensign_notice_t *n;
        peer_refuse(world_stream(w, i), table[i].status, table[i].text);
        n = world_end(w, sub.id, table[i].status);
        assert_non_null(n->error);
        assert_text(n->as.end.text, table[i].text);
        world_pass(w, 60000);
        assert_int_equal(w->stream_count, i + 1);
    }
}

/* Both are FAILED_PRECONDITION: the words tell a group that differs from topics that are not there. */
SCRIPT(a_group_that_differs_has_the_servers_words)
{
    static const char words[] = "the group has no query, and this member asks for another";
    ensign_subscription_desc_t d = of_weather();
    ensign_subscription_t sub;
    const ensign_notice_t *n;
    d.group = "readers";
    d.ensure_topics = true;
    world_create(w);
    sub = subscribe(w, &d);
    peer_refuse(world_stream(w, 0), ENSIGN_GRPC_ALREADY_EXISTS, "it is there");
    peer_refuse(world_stream(w, 1), ENSIGN_GRPC_FAILED_PRECONDITION, words);
    n = world_end(w, sub.id, ENSIGN_GRPC_FAILED_PRECONDITION);
    assert_int_equal(n->error->code, ENSIGN_E_FAILED_PRECONDITION);
    assert_non_null(strstr(n->error->text, words));
    d.ensure_topics = false;
    sub = subscribe(w, &d);
    peer_refuse(world_stream(w, 2), ENSIGN_GRPC_FAILED_PRECONDITION, "no topics available");
    n = world_end(w, sub.id, ENSIGN_GRPC_FAILED_PRECONDITION);
    assert_int_equal(n->error->code, ENSIGN_E_UNKNOWN_TOPIC);
}

SCRIPT(goaway_moves_a_subscription)
{
    ensign_subscription_desc_t d = of_weather();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    sub = subscribe(w, &d);
    s = ready(w, 0);
    deliver_text(s, 1, "one");
    event(w, sub, "one");
    peer_goaway_notice(w);
    world_settle(w);
    if (w->conn[ENSIGN_LINK_RPC] == s->conn) peer_goaway(w, s->id, NGHTTP2_NO_ERROR, NULL);
    world_until(w, s->reset || s->closed);
    s = ready(w, 1);
    assert_int_equal(s->conn->number, 1);
    deliver_text(s, 2, "two");
    gap(w, sub);
    event(w, sub, "two");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(the_bytes_of_a_subscription),
        IN_MODES(all_fields_of_a_delivered_event),
        IN_MODES(events_come_in_order_whatever_their_size),
        IN_MODES(large_events_allocate_nothing_while_they_flow),
        IN_MODES(acks_and_nacks_on_the_wire),
        IN_MODES(tokens_turn_stale),
        IN_MODES(a_gap_stands_among_the_events),
        IN_MODES(gaps_with_nothing_between_them_merge),
        IN_MODES(a_reconnect_keeps_the_handle),
        IN_MODES(an_event_that_is_too_large_is_a_gap),
        IN_MODES(events_behind_one_that_is_too_large_are_not_lost),
        IN_MODES(nonsense_from_the_server_costs_a_stream_only),
        IN_MODES(an_event_that_is_no_event_is_a_gap),
        IN_MODES(a_held_subscription_stops_its_sender),
        IN_MODES(closing_cancels_the_stream),
        IN_MODES(refused_for_good),
        IN_MODES(a_group_that_differs_has_the_servers_words),
        IN_MODES(goaway_moves_a_subscription),
    };
    return cmocka_run_group_tests_name("subscribe", tests, NULL, NULL);
}
