/* Publishers: what is accepted ends in exactly one ACK or NACK, whatever the link and the server do. */
#include "service.h"

static ensign_publisher_desc_t to_weather(void)
{
    ensign_publisher_desc_t d;
    memset(&d, 0, sizeof d);
    d.topic = "weather";
    return d;
}

static ensign_publisher_t publisher(world_t *w, const ensign_publisher_desc_t *d)
{
    ensign_publisher_t p = ensign_publisher_open(w->client, d);
    if (!p.id) world_fail(w, "ensign_publisher_open refused a good publisher");
    return p;
}

static void serve(world_t *w, bool ack)
{
    service_reset();
    service.ack = ack;
    w->on_message = service_publish;
    w->on_half = service_half;
    world_create(w);
}

static int put(world_t *w, ensign_publisher_t p, const void *data, size_t n, uint64_t tag)
{
    ensign_event_t e;
    memset(&e, 0, sizeof e);
    e.data = slice_of(data, n);
    e.tag = tag;
    return ensign_publish(w->client, p, &e);
}

static int put_text(world_t *w, ensign_publisher_t p, const char *text, uint64_t tag)
{
    return put(w, p, text, strlen(text), tag);
}

static void expect_ack(world_t *w, ensign_publisher_t p, uint64_t tag)
{
    const ensign_notice_t *n = world_await(w, p.id, ENSIGN_NOTICE_ACK);
    if (n->as.ack.tag != tag)
        world_fail(w, "ACK of %llu instead of %llu", (unsigned long long)n->as.ack.tag,
                   (unsigned long long)tag);
}

/* The ACKs of tags [from, to), in order; what ROOM came among them is counted. */
static int acks_and_rooms(world_t *w, ensign_publisher_t p, size_t from, size_t to)
{
    int rooms = 0;
    while (from < to) {
        const ensign_notice_t *n = world_next(w, p.id);
        rooms += n->type == ENSIGN_NOTICE_ROOM ? 1 : 0;
        if (n->type == ENSIGN_NOTICE_ACK) assert_int_equal(n->as.ack.tag, from++);
    }
    world_settle(w);
    while (world_pull(w, p.id)) rooms++;
    return rooms;
}

static const ensign_notice_t *expect_nack(world_t *w, ensign_publisher_t p, uint64_t tag, int code)
{
    const ensign_notice_t *n = world_await(w, p.id, ENSIGN_NOTICE_NACK);
    assert_int_equal(n->as.nack.tag, tag);
    assert_int_equal(n->as.nack.code, code);
    return n;
}

/* ------------------------------------------------------------------ the wire */
SCRIPT(the_bytes_of_a_publisher)
{
    static const uint8_t opening[] = { 0, 0, 0, 0, 6, 0x12, 4, 0x0a, 2, 'm', 'e' };
    ensign_publisher_desc_t d = to_weather();
    uint8_t event[50];
    ensign_publisher_t p;
    stream_t *s;
    w->wall = 0;
    service_reset();
    world_create(w);
    p = publisher(w, &d);
    assert_int_equal(put_text(w, p, "hi", 7), ENSIGN_OK);
    s = world_stream(w, 0);
    assert_string_equal(peer_field(s, ":path"), "/ensign.v1beta1.Ensign/Publish");
    world_until(w, s->in.len >= sizeof opening);
    world_settle(w);
    assert_slice(bytes_slice(&s->in), opening, sizeof opening);
    service_ready(s, 3);
    world_until(w, s->in.len >= sizeof opening + sizeof event);
    world_settle(w);
    assert_int_equal(s->in.len, sizeof opening + sizeof event);
    memcpy(event, "\0\0\0\0\x2d\x0a\x2b\x12\x10", 9);
    memcpy(event + 9, weather_id, 16);
    memcpy(event + 25, "\x4a\x04\x12\x02hi\x82\x01\x10", 9);
    memcpy(event + 34, s->in.p + sizeof opening + 34, 16);
    assert_memory_equal(s->in.p + sizeof opening, event, sizeof event);
    service_ack(s, event + 34, 16, 99);
    expect_ack(w, p, 7);
}

SCRIPT(all_fields_of_an_event)
{
    static const ensign_pair_t pairs[] = { { "a", "1" }, { "b", "" } };
    ensign_publisher_desc_t d = to_weather();
    ensign_publisher_t p;
    ensign_event_t e;
    ensign_slice_t f, event;
    heard_t *h;
    dec_t fields;
    int metadata = 0;
    serve(w, true);
    p = publisher(w, &d);
    memset(&e, 0, sizeof e);
    e.data = text_slice("data");
    e.mimetype = 50;
    e.type.name = text_slice("Report");
    e.type.major = 1;
    e.type.patch = 300;
    e.created.seconds = 12345;
    e.created.nanos = 6;
    e.key = text_slice("key");
    e.pairs = pairs;
    e.pair_count = 2;
    e.topic = "traffic";
    assert_int_equal(ensign_publish(w->client, p, &e), ENSIGN_OK);
    h = heard(w, 0);
    event = bytes_slice(&h->event);
    assert_memory_equal(h->topic, traffic_id, 16);
    assert_text(heard_data(h), "data");
    assert_int_equal(dec_uint(event, 4), 50);
    assert_true(dec_field(event, 5, &f));
    assert_int_equal(dec_uint(f, 2), 1);
    assert_int_equal(dec_uint(f, 3), 0);
    assert_int_equal(dec_uint(f, 4), 300);
    assert_true(dec_field(f, 1, &f));
    assert_text(f, "Report");
    assert_true(dec_field(event, 15, &f));
    assert_int_equal(dec_uint(f, 1), 12345);
    assert_int_equal(dec_uint(f, 2), 6);
    assert_true(dec_field(bytes_slice(&h->wrapper), 7, &f));
    assert_text(f, "key");
    for (fields = dec_begin(event); dec_next(&fields);) {
        if (fields.tag == 3) metadata++;
    }
    assert_int_equal(metadata, 2);
}

/* ------------------------------------------------------------------ acceptance and answers */
SCRIPT(taken_before_there_is_a_connection)
{
    ensign_publisher_desc_t d = to_weather();
    const ensign_notice_t *n;
    ensign_publisher_t p;
    size_t i;
    char text[16];
    w->dial[ENSIGN_LINK_RPC] = DIAL_SILENT;
    serve(w, false);
    service.mute = true;
    p = publisher(w, &d);
    for (i = 0; i < 10; i++) {
        snprintf(text, sizeof text, "e%d", (int)i);
        assert_int_equal(put_text(w, p, text, i), ENSIGN_OK);
    }
    world_pass(w, 1000);
    w->dial[ENSIGN_LINK_RPC] = DIAL_ACCEPT;
    world_until(w, service.opened == 1);
    world_settle(w);
    assert_int_equal(service.count, 0);
    w->streams[0]->stage = 1;
    service_ready(w->streams[0], 3);
    for (i = 0; i < 10; i++) {
        snprintf(text, sizeof text, "e%d", (int)i);
        assert_text(heard_data(heard(w, i)), text);
        assert_memory_equal(service.events[i].topic, weather_id, 16);
    }
    n = world_expect(w, p.id, ENSIGN_NOTICE_OPEN);
    assert_int_equal(n->as.open.times, 1);
    world_silent(w, p.id);
    for (i = 0; i < 10; i++) heard_ack(w, i);
    for (i = 0; i < 10; i++) {
        n = world_expect(w, p.id, ENSIGN_NOTICE_ACK);
        assert_int_equal(n->as.ack.tag, i);
        assert_int_equal(n->as.ack.committed.seconds, 100 + i);
        assert_int_equal(n->as.ack.committed.nanos, 5);
    }
    world_silent(w, p.id);
}

SCRIPT(a_topic_that_is_not_there_is_a_nack)
{
    ensign_publisher_desc_t d = to_weather();
    const ensign_notice_t *n;
    ensign_publisher_t p;
    ensign_event_t e;
    serve(w, true);
    p = publisher(w, &d);
    memset(&e, 0, sizeof e);
    e.data = text_slice("lost");
    e.topic = "nowhere";
    e.tag = 1;
    assert_int_equal(ensign_publish(w->client, p, &e), ENSIGN_OK);
    assert_int_equal(put_text(w, p, "fine", 2), ENSIGN_OK);
    n = expect_nack(w, p, 1, ENSIGN_NACK_TOPIC_UNKNOWN);
    assert_int_equal(n->as.nack.stored, ENSIGN_STORED_NO);
    assert_non_null(n->as.nack.event);
    assert_text(n->as.nack.event->data, "lost");
    assert_non_null(n->error);
    assert_non_null(strstr(n->error->text, "nowhere"));
    expect_ack(w, p, 2);
    assert_int_equal(service.count, 1);
    e.topic = NULL;
    memcpy(e.to_topic_id.b, traffic_id, 16);
    e.tag = 3;
    assert_int_equal(ensign_publish(w->client, p, &e), ENSIGN_OK);
    expect_ack(w, p, 3);
    assert_memory_equal(service.events[1].topic, traffic_id, 16);
}

/* The server opens no stream in an empty project. That is no end: the topic may be made later. */
SCRIPT(a_project_without_topics_costs_the_event_only)
{
    ensign_publisher_desc_t d = to_weather();
    const ensign_notice_t *n;
    ensign_publisher_t p;
    stream_t *s;
    service_reset();
    world_create(w);
    p = publisher(w, &d);
    s = world_stream(w, 0);
    peer_finish(s, ENSIGN_GRPC_FAILED_PRECONDITION, "no topics available", NULL);
    world_pass(w, 60000);
    assert_int_equal(w->stream_count, 1); /* nothing to send: nothing is asked */
    assert_int_equal(put_text(w, p, "early", 1), ENSIGN_OK);
    s = world_stream(w, 1);
    peer_finish(s, ENSIGN_GRPC_FAILED_PRECONDITION, "no topics available", NULL);
    n = expect_nack(w, p, 1, ENSIGN_NACK_TOPIC_UNKNOWN);
    assert_int_equal(n->as.nack.stored, ENSIGN_STORED_NO);
    w->on_message = service_publish;
    service.ack = true;
    assert_int_equal(put_text(w, p, "there", 2), ENSIGN_OK);
    expect_ack(w, p, 2);
}

SCRIPT(a_nack_may_overtake)
{
    ensign_publisher_desc_t d = to_weather();
    const ensign_notice_t *n;
    ensign_publisher_t p;
    ensign_stats_t stats;
    int acks = 0, nacks = 0;
    size_t i;
    serve(w, false);
    p = publisher(w, &d);
    for (i = 0; i < 6; i++) assert_int_equal(put_text(w, p, "same", i), ENSIGN_OK);
    heard(w, 5);
    heard_nack(w, 4, 1, "too%20big");
    heard_nack(w, 2, 9, "internal");
    for (i = 0; i < 6; i++) {
        if (i != 4 && i != 2) heard_ack(w, i);
    }
    for (i = 0; i < 6; i++) {
        do n = world_next(w, p.id); while (n->type == ENSIGN_NOTICE_OPEN);
        if (n->type == ENSIGN_NOTICE_NACK) {
            assert_true(n->as.nack.tag == 4 || n->as.nack.tag == 2);
            assert_int_equal(n->as.nack.code, n->as.nack.tag == 4 ? 1 : 9);
            assert_non_null(strstr(n->error->text, n->as.nack.tag == 4 ? "too%20big" : "internal"));
            assert_int_equal(n->error->code, ENSIGN_E_NACK);
            assert_int_equal(n->error->native, n->as.nack.code);
            assert_text(n->as.nack.event->data, "same");
            nacks++;
        } else {
            assert_int_equal(n->type, ENSIGN_NOTICE_ACK);
            assert_true(n->as.ack.tag != 4 && n->as.ack.tag != 2);
            acks++;
        }
    }
    assert_int_equal(acks, 4);
    assert_int_equal(nacks, 2);
    world_silent(w, p.id);
    assert_int_equal(ensign_stats(w->client, p.id, &stats), ENSIGN_OK);
    assert_int_equal(stats.published, 6);
    assert_int_equal(stats.acked, 4);
    assert_int_equal(stats.nacked, 2);
    assert_int_equal(stats.in_flight, 0);
}

/* ------------------------------------------------------------------ the ring */
SCRIPT(a_full_ring_says_again_and_then_room_once)
{
    static char data[5000000];
    ensign_publisher_desc_t d = to_weather();
    ensign_publisher_t p;
    size_t taken = 0, i;
    serve(w, false);
    d.buffer_bytes = 8192;
    p = publisher(w, &d);
    assert_int_equal(put(w, p, data, sizeof data, 0), ENSIGN_E_TOO_LARGE);
    while (put(w, p, data, 1000, taken) == ENSIGN_OK) assert_true(++taken < 9);
    assert_in_range(taken, 5, 8);
    assert_int_equal(put(w, p, data, 1000, taken), ENSIGN_AGAIN);
    heard(w, taken - 1);
    world_expect(w, p.id, ENSIGN_NOTICE_OPEN);
    world_silent(w, p.id);
    heard_ack(w, 0);
    heard_ack(w, 1);
    assert_int_equal(acks_and_rooms(w, p, 0, 2), 1);
    assert_int_equal(put(w, p, data, 1000, taken), ENSIGN_OK);
    for (i = 2; i <= taken; i++) heard_ack(w, i);
    assert_int_equal(acks_and_rooms(w, p, 2, taken + 1), 0);
}

/* A ROOM that waits when the publisher, or the client, closes would invite a publish that can only fail. */
SCRIPT(no_room_after_a_close)
{
    static char data[1000];
    for (int all = 0; all < 2; all++) {
        ensign_publisher_desc_t d = to_weather();
        const ensign_notice_t *n;
        ensign_publisher_t p;
        if (!all) serve(w, false);
        d.max_in_flight = 1;
        p = publisher(w, &d);
        assert_int_equal(put(w, p, data, sizeof data, 1), ENSIGN_OK);
        assert_int_equal(put(w, p, data, sizeof data, 2), ENSIGN_AGAIN);
        heard_ack(w, (size_t)all);
        world_await(w, p.id, ENSIGN_NOTICE_ACK);
        world_settle(w);
        assert_true(ensign_pending(w->client, p.id)); /* ROOM */
        assert_int_equal(ensign_close(w->client, all ? ENSIGN_CLIENT : p.id, 10000), ENSIGN_OK);
        assert_int_equal(put(w, p, data, sizeof data, 2), ENSIGN_E_STATE);
        n = world_next(w, p.id);
        assert_int_equal(n->type, ENSIGN_NOTICE_END);
        assert_null(n->error);
    }
}

/* The server takes messages of 4,194,304 bytes; 47 of them are around an event, 5 more around its data. */
SCRIPT(the_largest_event)
{
    static char data[4194253];
    ensign_publisher_desc_t d = to_weather();
    ensign_publisher_t p;
    w->wall = 0;
    serve(w, true);
    p = publisher(w, &d);
    assert_int_equal(put(w, p, data, sizeof data, 1), ENSIGN_E_TOO_LARGE);
    assert_int_equal(put(w, p, data, sizeof data - 1, 2), ENSIGN_OK);
    if (w->mode == BYTE) return;
    assert_int_equal(heard(w, 0)->wrapper.len + 5, 4194304);
    expect_ack(w, p, 2);
}

SCRIPT(one_event_may_be_larger_than_the_ring)
{
    static char data[40000];
    ensign_publisher_desc_t d = to_weather();
    ensign_publisher_t p;
    serve(w, false);
    d.buffer_bytes = 8192;
    p = publisher(w, &d);
    memset(data, 'd', sizeof data);
    assert_int_equal(put(w, p, data, sizeof data, 1), ENSIGN_OK);
    assert_int_equal(put(w, p, data, 10, 2), ENSIGN_AGAIN);
    assert_slice(heard_data(heard(w, 0)), data, sizeof data);
    heard_ack(w, 0);
    world_expect(w, p.id, ENSIGN_NOTICE_OPEN);
    assert_int_equal(acks_and_rooms(w, p, 1, 2), 1);
    assert_int_equal(put(w, p, data, 10, 2), ENSIGN_OK);
    assert_int_equal(put(w, p, data, sizeof data, 3), ENSIGN_AGAIN);
    heard_ack(w, 1);
    assert_int_equal(acks_and_rooms(w, p, 2, 3), 1);
    assert_int_equal(put(w, p, data, sizeof data, 3), ENSIGN_OK);
    heard_ack(w, 2);
    expect_ack(w, p, 3);
}

SCRIPT(no_more_in_flight_than_allowed)
{
    ensign_publisher_desc_t d = to_weather();
    ensign_publisher_t p;
    size_t i, tag = 0;
    serve(w, false);
    d.max_in_flight = 4;
    p = publisher(w, &d);
    for (i = 0; i < 40; i++) {
        size_t answered = 0, k;
        while (tag < 40 && put_text(w, p, "x", tag) == ENSIGN_OK) tag++;
        world_settle(w);
        for (k = 0; k < service.count; k++) answered += service.events[k].answered ? 1 : 0;
        assert_true(service.count - answered <= 4);
        if (i < service.count) heard_ack(w, i);
        expect_ack(w, p, i);
    }
    assert_int_equal(service.count, 40);
}

/* ------------------------------------------------------------------ drain and close */
/* One that is not pulled tells nothing of the next drain. */
SCRIPT(an_old_drained_is_not_the_answer)
{
    ensign_publisher_desc_t d = to_weather();
    const ensign_notice_t *n;
    ensign_publisher_t p;
    serve(w, false);
    p = publisher(w, &d);
    assert_int_equal(put_text(w, p, "a", 1), ENSIGN_OK);
    assert_int_equal(ensign_publisher_drain(w->client, p, 1000), ENSIGN_OK);
    heard(w, 0);
    heard_ack(w, 0);
    world_settle(w);
    assert_int_equal(put_text(w, p, "b", 2), ENSIGN_OK);
    assert_int_equal(ensign_publisher_drain(w->client, p, 1000), ENSIGN_OK);
    world_settle(w);
    world_expect(w, p.id, ENSIGN_NOTICE_OPEN);
    expect_ack(w, p, 1);
    world_silent(w, p.id);
    n = world_expect(w, p.id, ENSIGN_NOTICE_DRAINED);
    assert_int_equal(n->as.drained.left, 1);
}

SCRIPT(drained_means_acked)
{
    ensign_publisher_desc_t d = to_weather();
    const ensign_notice_t *n;
    ensign_publisher_t p;
    uint64_t began;
    serve(w, false);
    p = publisher(w, &d);
    assert_int_equal(put_text(w, p, "a", 1), ENSIGN_OK);
    assert_int_equal(put_text(w, p, "b", 2), ENSIGN_OK);
    heard(w, 1);
    assert_int_equal(ensign_publisher_drain(w->client, p, 1000), ENSIGN_OK);
    world_expect(w, p.id, ENSIGN_NOTICE_OPEN);
    world_silent(w, p.id);
    heard_ack(w, 0);
    expect_ack(w, p, 1);
    world_silent(w, p.id);
    heard_nack(w, 1, 9, "no");
    expect_nack(w, p, 2, 9);
    n = world_expect(w, p.id, ENSIGN_NOTICE_DRAINED);
    assert_int_equal(n->as.drained.acked, 1);
    assert_int_equal(n->as.drained.nacked, 1);
    assert_int_equal(n->as.drained.left, 0);
    assert_false(n->last);
    assert_int_equal(put_text(w, p, "c", 3), ENSIGN_OK);
    heard(w, 2);
    began = w->now;
    assert_int_equal(ensign_publisher_drain(w->client, p, 500), ENSIGN_OK);
    n = world_expect(w, p.id, ENSIGN_NOTICE_DRAINED);
    assert_int_equal(n->as.drained.left, 1);
    assert_in_range(w->now - began, 500, 510);
    heard_ack(w, 2);
    expect_ack(w, p, 3);
    assert_false(w->streams[0]->half_closed);
}

SCRIPT(close_waits_for_the_acks_before_it_half_closes)
{
    ensign_publisher_desc_t d = to_weather();
    ensign_publisher_t p;
    stream_t *s;
    serve(w, false);
    p = publisher(w, &d);
    assert_int_equal(put_text(w, p, "a", 1), ENSIGN_OK);
    assert_int_equal(put_text(w, p, "b", 2), ENSIGN_OK);
    assert_int_equal(ensign_close(w->client, p.id, 5000), ENSIGN_OK);
    assert_int_equal(put_text(w, p, "c", 3), ENSIGN_E_STATE);
    heard(w, 1);
    s = w->streams[0];
    heard_ack(w, 0);
    expect_ack(w, p, 1);
    world_settle(w);
    assert_false(s->half_closed);
    heard_ack(w, 1);
    expect_ack(w, p, 2);
    world_until(w, s->half_closed);
    assert_true(world_end(w, p.id, ENSIGN_GRPC_OK)->last);
    assert_false(s->reset);
}

SCRIPT(close_nacks_what_is_left)
{
    ensign_publisher_desc_t d = to_weather();
    const ensign_notice_t *n;
    ensign_publisher_t p;
    uint64_t began;
    serve(w, false);
    d.max_in_flight = 2;
    p = publisher(w, &d);
    assert_int_equal(put_text(w, p, "a", 1), ENSIGN_OK);
    assert_int_equal(put_text(w, p, "b", 2), ENSIGN_OK);
    heard(w, 1);
    began = w->now;
    assert_int_equal(ensign_close(w->client, p.id, 500), ENSIGN_OK);
    n = world_await(w, p.id, ENSIGN_NOTICE_NACK);
    assert_int_equal(n->as.nack.tag, 1);
    assert_int_not_equal(n->as.nack.code, ENSIGN_NACK_NOT_SENT);
    assert_int_equal(n->as.nack.stored, ENSIGN_STORED_MAYBE);
    assert_text(n->as.nack.event->data, "a");
    assert_in_range(w->now - began, 500, 510);
    n = world_await(w, p.id, ENSIGN_NOTICE_NACK);
    assert_int_equal(n->as.nack.tag, 2);
    assert_true(world_await(w, p.id, ENSIGN_NOTICE_END)->last);
    service.mute = true;
    p = publisher(w, &d);
    assert_int_equal(put_text(w, p, "c", 3), ENSIGN_OK);
    assert_int_equal(ensign_close(w->client, p.id, 500), ENSIGN_OK);
    n = expect_nack(w, p, 3, ENSIGN_NACK_NOT_SENT);
    assert_int_equal(n->as.nack.stored, ENSIGN_STORED_NO);
    assert_true(world_await(w, p.id, ENSIGN_NOTICE_END)->last);
}

SCRIPT(closing_the_client_drains_its_publishers)
{
    ensign_publisher_desc_t d = to_weather();
    ensign_publisher_t p;
    serve(w, true);
    p = publisher(w, &d);
    assert_int_equal(put_text(w, p, "a", 1), ENSIGN_OK);
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 5000), ENSIGN_OK);
    expect_ack(w, p, 1);
    world_await(w, p.id, ENSIGN_NOTICE_END);
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED);
    assert_int_equal(service.count, 1);
}

SCRIPT(quiet_acks_are_counted_only)
{
    ensign_publisher_desc_t d = to_weather();
    const ensign_notice_t *n;
    ensign_publisher_t p;
    ensign_stats_t stats;
    size_t i;
    serve(w, false);
    d.quiet_acks = true;
    p = publisher(w, &d);
    for (i = 0; i < 5; i++) assert_int_equal(put_text(w, p, "x", i), ENSIGN_OK);
    world_expect(w, p.id, ENSIGN_NOTICE_OPEN);
    heard_nack(w, 3, 9, "no");
    for (i = 0; i < 5; i++) {
        if (i != 3) heard_ack(w, i);
    }
    assert_int_equal(ensign_publisher_drain(w->client, p, 1000), ENSIGN_OK);
    n = world_expect(w, p.id, ENSIGN_NOTICE_NACK);
    assert_int_equal(n->as.nack.tag, 3);
    n = world_expect(w, p.id, ENSIGN_NOTICE_DRAINED);
    assert_int_equal(n->as.drained.acked, 4);
    assert_int_equal(ensign_stats(w->client, p.id, &stats), ENSIGN_OK);
    assert_int_equal(stats.acked, 4);
    assert_int_equal(stats.nacked, 1);
}

/* ------------------------------------------------------------------ broken streams */
static void same_again(const heard_t *a, const heard_t *b)
{
    assert_memory_equal(a->id, b->id, 16);
    assert_int_equal(a->wrapper.len, b->wrapper.len);
    assert_memory_equal(a->wrapper.p, b->wrapper.p, a->wrapper.len);
}

SCRIPT(unacked_events_are_sent_again_as_they_were)
{
    ensign_publisher_desc_t d = to_weather();
    const ensign_notice_t *n;
    ensign_publisher_t p;
    ensign_stats_t stats;
    size_t i;
    serve(w, false);
    p = publisher(w, &d);
    for (i = 0; i < 4; i++) {
        assert_int_equal(put_text(w, p, "again", i), ENSIGN_OK);
        world_pass(w, 7);
    }
    heard(w, 3);
    heard_ack(w, 0);
    heard_nack(w, 2, 9, "no");
    expect_ack(w, p, 0);
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    assert_int_equal(put_text(w, p, "new", 4), ENSIGN_OK);
    world_pass(w, 3000);
    heard(w, 6);
    same_again(&service.events[1], &service.events[4]);
    same_again(&service.events[3], &service.events[5]);
    assert_text(heard_data(&service.events[6]), "new");
    do n = world_next(w, p.id); while (n->type == ENSIGN_NOTICE_NACK && n->as.nack.tag == 2);
    assert_int_equal(n->type, ENSIGN_NOTICE_OPEN);
    assert_int_equal(n->as.open.times, 2);
    for (i = 4; i < 7; i++) heard_ack(w, i);
    expect_ack(w, p, 1);
    expect_ack(w, p, 3);
    expect_ack(w, p, 4);
    world_silent(w, p.id);
    assert_int_equal(ensign_stats(w->client, p.id, &stats), ENSIGN_OK);
    assert_int_equal(stats.resent, 2);
    assert_int_equal(stats.in_flight, 0);
}

SCRIPT(at_most_once_never_sends_again)
{
    ensign_publisher_desc_t d = to_weather();
    const ensign_notice_t *n;
    ensign_publisher_t p;
    serve(w, false);
    d.at_most_once = true;
    d.max_in_flight = 2;
    p = publisher(w, &d);
    assert_int_equal(put_text(w, p, "a", 1), ENSIGN_OK);
    assert_int_equal(put_text(w, p, "b", 2), ENSIGN_OK);
    heard(w, 1);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    n = expect_nack(w, p, 1, ENSIGN_NACK_OUTCOME_UNKNOWN);
    assert_int_equal(n->as.nack.stored, ENSIGN_STORED_MAYBE);
    assert_text(n->as.nack.event->data, "a");
    expect_nack(w, p, 2, ENSIGN_NACK_OUTCOME_UNKNOWN);
    assert_int_equal(put_text(w, p, "c", 3), ENSIGN_OK);
    assert_text(heard_data(heard(w, 2)), "c");
    heard_ack(w, 2);
    expect_ack(w, p, 3);
    assert_int_equal(service.count, 3);
}

SCRIPT(a_server_that_ends_the_stream_gets_another)
{
    ensign_publisher_desc_t d = to_weather();
    ensign_publisher_t p;
    serve(w, false);
    p = publisher(w, &d);
    assert_int_equal(put_text(w, p, "a", 1), ENSIGN_OK);
    heard(w, 0);
    peer_finish(w->streams[0], ENSIGN_GRPC_UNAVAILABLE, "ensign broker is not available", NULL);
    same_again(&service.events[0], heard(w, 1));
    assert_int_equal(service.events[1].stream->conn->number, 0);
    heard_ack(w, 1);
    expect_ack(w, p, 1);
    peer_finish(w->streams[1], 0, NULL, NULL);
    world_settle(w);
    assert_int_equal(put_text(w, p, "b", 2), ENSIGN_OK);
    assert_text(heard_data(heard(w, 2)), "b");
    heard_ack(w, 2);
    expect_ack(w, p, 2);
}

SCRIPT(a_refusal_for_good_ends_the_publisher)
{
    ensign_publisher_desc_t d = to_weather();
    const ensign_notice_t *n;
    ensign_publisher_t p;
    service_reset();
    world_create(w);
    p = publisher(w, &d);
    assert_int_equal(put_text(w, p, "a", 1), ENSIGN_OK);
    assert_int_equal(put_text(w, p, "b", 2), ENSIGN_OK);
    peer_refuse(world_stream(w, 0), ENSIGN_GRPC_PERMISSION_DENIED, "not authorized to perform this action");
    n = world_expect(w, p.id, ENSIGN_NOTICE_NACK);
    assert_int_equal(n->as.nack.tag, 1);
    assert_int_equal(n->as.nack.stored, ENSIGN_STORED_NO);
    n = world_expect(w, p.id, ENSIGN_NOTICE_NACK);
    assert_int_equal(n->as.nack.tag, 2);
    n = world_end(w, p.id, ENSIGN_GRPC_PERMISSION_DENIED);
    assert_non_null(strstr(n->error->text, "not authorized"));
    world_pass(w, 60000);
    assert_int_equal(w->stream_count, 1);
}

/* ------------------------------------------------------------------ may a nacked event be stored? */
static void nacked(world_t *w, ensign_publisher_t p, uint64_t tag, int code, ensign_stored_t stored)
{
    assert_int_equal(expect_nack(w, p, tag, code)->as.nack.stored, stored);
}

SCRIPT(the_server_refuses_what_an_earlier_stream_may_have_stored)
{
    ensign_publisher_desc_t d = to_weather();
    const ensign_notice_t *n;
    ensign_publisher_t p;
    serve(w, false);
    p = publisher(w, &d);
    assert_int_equal(put_text(w, p, "a", 1), ENSIGN_OK);
    assert_int_equal(put_text(w, p, "b", 2), ENSIGN_OK);
    heard(w, 1);
    heard_nack(w, 1, ENSIGN_NACK_TOPIC_ARCHIVED, "it is archived");
    nacked(w, p, 2, ENSIGN_NACK_TOPIC_ARCHIVED, ENSIGN_STORED_NO); /* the only stream that had it */
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    same_again(&service.events[0], heard(w, 2));
    assert_int_equal(put_text(w, p, "c", 3), ENSIGN_OK);
    heard_nack(w, 2, ENSIGN_NACK_TOPIC_ARCHIVED, "it is archived");
    n = expect_nack(w, p, 1, ENSIGN_NACK_TOPIC_ARCHIVED);
    assert_int_equal(n->as.nack.stored, ENSIGN_STORED_MAYBE);
    assert_non_null(strstr(n->error->text, "it is archived"));
    assert_non_null(strstr(n->error->text, "may have stored it"));
    heard_nack(w, 3, ENSIGN_NACK_INTERNAL, "");
    nacked(w, p, 3, ENSIGN_NACK_INTERNAL, ENSIGN_STORED_NO); /* its first stream */
}

/* Event 1 was sent whole on a stream that broke, event 2 never: however the publisher goes on to its end. */
typedef enum { REFUSED, NO_TOPICS, CANCELLED, CLOSED, GIVEN_UP, FAILED, WAYS } way_t;
static const char *const way_names[WAYS] = { "the stream is refused for good", "the project has no topics",
                                             "cancelled", "closed", "given up", "the client has failed" };

static void refuse_again(world_t *w, stream_t *s)
{
    (void)w;
    peer_refuse(s, ENSIGN_GRPC_INTERNAL, "oops");
}

static void end_in_this_way(world_t *w, ensign_publisher_t p, way_t way)
{
    stream_t *s = w->stream_count > 1 ? w->streams[1] : NULL;
    if (way == REFUSED) peer_refuse(s, ENSIGN_GRPC_PERMISSION_DENIED, "not authorized");
    if (way == NO_TOPICS) peer_refuse(s, ENSIGN_GRPC_FAILED_PRECONDITION, "no topics available");
    if (way == CANCELLED) assert_int_equal(ensign_cancel(w->client, p.id), ENSIGN_OK);
    if (way == CLOSED) assert_int_equal(ensign_close(w->client, p.id, 500), ENSIGN_OK);
}

SCRIPT(whatever_ends_an_event_tells_whether_it_may_be_stored)
{
    for (int way = 0; way < WAYS; way++) {
        ensign_publisher_desc_t d = to_weather();
        ensign_publisher_t p;
        int unsent = way == NO_TOPICS ? ENSIGN_NACK_TOPIC_UNKNOWN : ENSIGN_NACK_NOT_SENT;
        world_begin(w, w->mode, w->seed);
        w->script = way_names[way];
        if (way == GIVEN_UP || way == FAILED) w->desc.give_up_after_ms = 5000;
        serve(w, false);
        p = publisher(w, &d);
        assert_int_equal(put_text(w, p, "a", 1), ENSIGN_OK);
        heard(w, 0);
        service.mute = true;
        if (way == FAILED) w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
        if (way == GIVEN_UP) w->on_headers = refuse_again;
        world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
        if (way != FAILED) world_stream(w, 1);
        assert_int_equal(put_text(w, p, "b", 2), ENSIGN_OK);
        end_in_this_way(w, p, (way_t)way);
        nacked(w, p, 1, ENSIGN_NACK_OUTCOME_UNKNOWN, ENSIGN_STORED_MAYBE);
        nacked(w, p, 2, unsent, ENSIGN_STORED_NO);
        assert_int_equal(service.count, 1);
        world_free(w);
    }
    world_begin(w, w->mode, w->seed);
}

SCRIPT(acks_that_do_not_come_reopen_the_stream)
{
    ensign_publisher_desc_t d = to_weather();
    ensign_publisher_t p;
    uint64_t began;
    serve(w, false);
    d.ack_timeout_ms = 2000;
    p = publisher(w, &d);
    assert_int_equal(put_text(w, p, "a", 1), ENSIGN_OK);
    heard(w, 0);
    began = w->now;
    world_until(w, w->streams[0]->reset);
    assert_in_range(w->now - began, 1990, 2010);
    same_again(&service.events[0], heard(w, 1));
    heard_ack(w, 1);
    expect_ack(w, p, 1);
    world_pass(w, 10000);
    assert_int_equal(service.opened, 2);
    assert_int_equal(w->dials[ENSIGN_LINK_RPC], 1);
}

SCRIPT(an_ack_of_nothing_ends_the_stream_and_not_the_client)
{
    ensign_publisher_desc_t d = to_weather();
    ensign_publisher_t p;
    serve(w, false);
    p = publisher(w, &d);
    assert_int_equal(put_text(w, p, "a", 1), ENSIGN_OK);
    heard(w, 0);
    service_ack(w->streams[0], (const uint8_t *)"never-sent-16byt", 16, 1);
    world_until(w, w->streams[0]->reset);
    same_again(&service.events[0], heard(w, 1));
    assert_int_equal(service.events[1].stream->conn->number, 0);
    service_ack(w->streams[1], (const uint8_t *)"short", 5, 1);
    world_until(w, w->streams[1]->reset);
    heard(w, 2);
    peer_message(w->streams[2], "\xff\xff\xff", 3);
    world_until(w, w->streams[2]->reset);
    heard_ack(w, 3);
    expect_ack(w, p, 1);
    world_silent(w, p.id);
    world_hear(w);
    assert_int_equal(w->disconnected, 0);
}

SCRIPT(goaway_moves_a_publisher_without_loss_or_doubles)
{
    ensign_publisher_desc_t d = to_weather();
    ensign_publisher_t p;
    stream_t *s;
    size_t i;
    serve(w, false);
    p = publisher(w, &d);
    for (i = 0; i < 3; i++) assert_int_equal(put_text(w, p, "old", i), ENSIGN_OK);
    heard(w, 2);
    s = w->streams[0];
    peer_goaway_notice(w);
    world_settle(w);
    peer_goaway_behind(s);
    world_settle(w);
    for (i = 3; i < 6; i++) assert_int_equal(put_text(w, p, "new", i), ENSIGN_OK);
    world_settle(w);
    assert_int_equal(service.count, 3);
    assert_false(s->half_closed);
    for (i = 0; i < 3; i++) {
        heard_ack(w, i);
        expect_ack(w, p, i);
    }
    world_until(w, s->half_closed);
    for (i = 3; i < 6; i++) {
        assert_text(heard_data(heard(w, i)), "new");
        assert_int_equal(service.events[i].stream->conn->number, 1);
        heard_ack(w, i);
        expect_ack(w, p, i);
    }
    world_silent(w, p.id);
    assert_int_equal(service.count, 6);
}

SCRIPT(forgetting_a_publisher_drops_it)
{
    ensign_publisher_desc_t d = to_weather();
    ensign_publisher_t p;
    serve(w, false);
    p = publisher(w, &d);
    assert_int_equal(put_text(w, p, "a", 1), ENSIGN_OK);
    heard(w, 0);
    assert_int_equal(ensign_forget(w->client, p.id), ENSIGN_OK);
    assert_int_equal(put_text(w, p, "b", 2), ENSIGN_E_HANDLE);
    world_until(w, w->streams[0]->reset);
    world_pass(w, 1000);
    world_hear(w);
    assert_null(world_pull(w, 0));
}

/* ------------------------------------------------------------------ against a model */
enum { EVENTS = 400 };
typedef struct { uint8_t id[16]; bytes_t wrapper; int heard, acked, nacked; bool ended; } fate_t;
static fate_t fate[EVENTS];
static uint64_t last_on_stream;
static stream_t *last_stream;

/* Whatever is heard: in order on each stream, and what comes again is the same to the byte. */
static void fate_hear(world_t *w, size_t from)
{
    size_t i;
    for (i = from; i < service.count; i++) {
        heard_t *h = &service.events[i];
        ensign_slice_t data = heard_data(h);
        uint64_t tag = 0;
        fate_t *f;
        assert_true(data.len >= sizeof tag);
        memcpy(&tag, data.ptr, sizeof tag);
        f = &fate[tag];
        if (h->stream == last_stream && tag <= last_on_stream)
            world_fail(w, "event %d came after %d", (int)tag, (int)last_on_stream);
        last_stream = h->stream;
        last_on_stream = tag;
        if (f->heard++) {
            assert_int_equal(f->wrapper.len, h->wrapper.len);
            assert_memory_equal(f->wrapper.p, h->wrapper.p, h->wrapper.len);
        } else {
            bytes_add(&f->wrapper, h->wrapper.p, h->wrapper.len);
        }
        if (f->ended) world_fail(w, "event %d was sent after its end", (int)tag);
    }
}

static void fate_answer(world_t *w, size_t *next)
{
    for (; *next < service.count; (*next)++) {
        heard_t *h = &service.events[*next];
        uint64_t tag;
        if (world_below(w, 3) == 0) return;
        memcpy(&tag, heard_data(h).ptr, sizeof tag);
        if (h->stream->closed) continue;
        h->answered = true;
        if (tag % 7 == 3) service_nack(h->stream, h->id, 16, 9, "no");
        else service_ack(h->stream, h->id, 16, 1);
    }
}

static size_t fate_pull(world_t *w, ensign_publisher_t p)
{
    const ensign_notice_t *n;
    size_t ended = 0;
    while ((n = world_pull(w, p.id)) != NULL) {
        fate_t *f;
        uint64_t tag;
        if (n->type == ENSIGN_NOTICE_OPEN || n->type == ENSIGN_NOTICE_ROOM) continue;
        assert_true(n->type == ENSIGN_NOTICE_ACK || n->type == ENSIGN_NOTICE_NACK);
        tag = n->type == ENSIGN_NOTICE_ACK ? n->as.ack.tag : n->as.nack.tag;
        assert_true(tag < EVENTS);
        f = &fate[tag];
        if (f->ended) world_fail(w, "event %d ended twice", (int)tag);
        assert_true(f->heard > 0);
        assert_int_equal(n->type, tag % 7 == 3 ? ENSIGN_NOTICE_NACK : ENSIGN_NOTICE_ACK);
        f->ended = true;
        ended++;
        if (world_below(w, 4) == 0) break;
    }
    return ended;
}

static uint64_t fate_put(world_t *w, ensign_publisher_t p, uint64_t tag)
{
    static uint8_t data[3000];
    uint32_t n = world_below(w, 6);
    for (; n && tag < EVENTS; n--) {
        memcpy(data, &tag, sizeof tag);
        if (put(w, p, data, sizeof tag + world_below(w, world_below(w, 8) ? 100 : 2900), tag) != ENSIGN_OK)
            break;
        tag++;
    }
    return tag;
}

SCRIPT(random_publishing_against_a_model)
{
    ensign_publisher_desc_t d = to_weather();
    ensign_publisher_t p;
    uint64_t tag = 0;
    size_t ended = 0, next = 0, from = 0, i, steps = 0;
    for (i = 0; i < EVENTS; i++) bytes_free(&fate[i].wrapper);
    memset(fate, 0, sizeof fate);
    last_stream = NULL;
    serve(w, false);
    d.buffer_bytes = 16384;
    d.max_in_flight = 50;
    p = publisher(w, &d);
    while (ended < EVENTS) {
        uint32_t op = world_below(w, 40);
        if (++steps > 100000) world_fail(w, "%d of %d events ended", (int)ended, EVENTS);
        if (op < 12) tag = fate_put(w, p, tag);
        else if (op < 20) fate_answer(w, &next);
        else if (op < 26) ended += fate_pull(w, p);
        else if (op < 36) world_round(w);
        else if (op < 38) world_pass(w, world_below(w, 400));
        else if (op == 38 && w->cut_in[ENSIGN_LINK_RPC] < 0)
            w->cut_in[ENSIGN_LINK_RPC] = world_below(w, 1500);
        else if (w->cut_out[ENSIGN_LINK_RPC] < 0) w->cut_out[ENSIGN_LINK_RPC] = world_below(w, 20000);
        fate_hear(w, from);
        from = service.count;
        if (w->conn_count > WORLD_CONNS - 2) world_fail(w, "too many connections");
    }
    world_silent(w, p.id);
    assert_int_equal(tag, EVENTS);
    for (i = 0; i < EVENTS; i++) bytes_free(&fate[i].wrapper);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(the_bytes_of_a_publisher),
        IN_MODES(all_fields_of_an_event),
        IN_MODES(taken_before_there_is_a_connection),
        IN_MODES(a_topic_that_is_not_there_is_a_nack),
        IN_MODES(a_project_without_topics_costs_the_event_only),
        IN_MODES(a_nack_may_overtake),
        IN_MODES(a_full_ring_says_again_and_then_room_once),
        IN_MODES(no_room_after_a_close),
        IN_MODES(the_largest_event), IN_MODES(one_event_may_be_larger_than_the_ring),
        IN_MODES(no_more_in_flight_than_allowed),
        IN_MODES(an_old_drained_is_not_the_answer),
        IN_MODES(drained_means_acked),
        IN_MODES(close_waits_for_the_acks_before_it_half_closes),
        IN_MODES(close_nacks_what_is_left),
        IN_MODES(closing_the_client_drains_its_publishers),
        IN_MODES(quiet_acks_are_counted_only),
        IN_MODES(unacked_events_are_sent_again_as_they_were),
        IN_MODES(at_most_once_never_sends_again),
        IN_MODES(a_server_that_ends_the_stream_gets_another),
        IN_MODES(a_refusal_for_good_ends_the_publisher),
        IN_MODES(the_server_refuses_what_an_earlier_stream_may_have_stored),
        IN_MODES(whatever_ends_an_event_tells_whether_it_may_be_stored),
        IN_MODES(acks_that_do_not_come_reopen_the_stream),
        IN_MODES(an_ack_of_nothing_ends_the_stream_and_not_the_client),
        IN_MODES(goaway_moves_a_publisher_without_loss_or_doubles),
        IN_MODES(forgetting_a_publisher_drops_it),
        IN_MODES(random_publishing_against_a_model),
    };
    int rc = cmocka_run_group_tests_name("publish", tests, NULL, NULL);
    service_reset();
    return rc;
}
