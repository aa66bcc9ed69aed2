/* A project without topics: the server opens no stream; a publisher with ensure_topic sees to its events. */
#include "service.h"

static ensign_publisher_t publisher_of(world_t *w)
{
    ensign_publisher_desc_t d;
    ensign_publisher_t p;
    memset(&d, 0, sizeof d);
    d.topic = "first";
    d.ensure_topic = true;
    p = ensign_publisher_open(w->client, &d);
    assert_int_not_equal(p.id, 0);
    return p;
}

static ensign_publisher_t publisher(world_t *w)
{
    world_create(w);
    return publisher_of(w);
}

static void put_by_id(world_t *w, ensign_publisher_t p, uint64_t tag)
{
    ensign_event_t e;
    memset(&e, 0, sizeof e);
    memcpy(e.to_topic_id.b, weather_id, 16);
    e.data = text_slice("x");
    e.tag = tag;
    assert_int_equal(ensign_publish(w->client, p, &e), ENSIGN_OK);
}

static void refuse(stream_t *s)
{
    peer_finish(s, ENSIGN_GRPC_FAILED_PRECONDITION, "no topics available", NULL);
}

/* A stream that asks whether there is a topic is answered. */
static void tell(world_t *w, size_t i, bool there)
{
    bytes_t reply = {0};
    stream_t *s = world_stream(w, i);
    assert_string_equal(peer_field(s, ":path"), "/ensign.v1beta1.Ensign/TopicExists");
    enc_text(&reply, 1, "looked");
    if (there) enc_uint(&reply, 2, 1);
    peer_send(s, &reply);
    peer_finish(s, 0, NULL, NULL);
}

static void nacked(world_t *w, ensign_publisher_t p, uint64_t tag)
{
    const ensign_notice_t *n = world_expect(w, p.id, ENSIGN_NOTICE_NACK);
    assert_int_equal(n->as.nack.tag, tag);
    assert_int_equal(n->as.nack.code, ENSIGN_NACK_TOPIC_UNKNOWN);
}

/* An event that is put while another one's topic is asked for changes nothing for that one. */
SCRIPT(each_event_is_nacked_once)
{
    ensign_publisher_t p = publisher(w);
    ensign_stats_t stats;
    stream_t *s = world_stream(w, 0);
    put_by_id(w, p, 0);
    refuse(s);
    world_stream(w, 1);
    put_by_id(w, p, 1);
    world_pass(w, 100);
    tell(w, 1, false);
    nacked(w, p, 0);
    nacked(w, p, 1);
    world_pass(w, 100);
    assert_null(ensign_next_of(w->client, p.id));
    assert_int_equal(ensign_stats(w->client, p.id, &stats), ENSIGN_OK);
    assert_int_equal(stats.nacked, 2);
    assert_int_equal(stats.in_flight, 0);
}

/* WAITING tells only what an event would change: with one at hand its topic is being made. */
SCRIPT(what_it_waits_for_is_said)
{
    ensign_publisher_t p = publisher(w);
    const ensign_notice_t *n;
    refuse(world_stream(w, 0));
    n = world_waiting(w, p.id, "the first event makes its topic");
    assert_int_equal(n->error->code, ENSIGN_E_UNKNOWN_TOPIC);
    assert_int_equal(n->as.waiting.retry_in_ms, ENSIGN_FOREVER);
    ensign_forget(w->client, p.id);
    p = publisher_of(w);
    put_by_id(w, p, 0);
    refuse(world_stream(w, 1));
    world_stream(w, 2);
    assert_null(ensign_next_of(w->client, p.id)); /* its topic is asked for */
}

static void on_message(world_t *w, stream_t *s, ensign_slice_t m)
{
    if (!s->done && strstr(peer_field(s, ":path"), "/Publish")) service_publish(w, s, m);
}

/* An id is asked for as well: somebody else may have made the first topic meanwhile. */
SCRIPT(an_id_is_looked_for)
{
    ensign_publisher_t p = publisher(w);
    refuse(world_stream(w, 0));
    world_pass(w, 100);
    put_by_id(w, p, 7);
    tell(w, 1, true);
    w->on_message = on_message;
    service.ack = true;
    world_await(w, p.id, ENSIGN_NOTICE_ACK);
    assert_int_equal(w->stream_count, 3);
    assert_int_equal(service.count, 1);
    assert_memory_equal(service.events[0].topic, weather_id, 16);
    service_reset();
}

/* A server that has the topic and opens no stream for it is not asked for ever. */
SCRIPT(an_id_is_looked_for_once)
{
    ensign_publisher_t p = publisher(w);
    refuse(world_stream(w, 0));
    world_pass(w, 100);
    put_by_id(w, p, 7);
    tell(w, 1, true);
    refuse(world_stream(w, 2));
    nacked(w, p, 7);
    world_pass(w, 5000);
    assert_int_equal(w->stream_count, 3);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(each_event_is_nacked_once),
        IN_MODES(what_it_waits_for_is_said),
        IN_MODES(an_id_is_looked_for),
        IN_MODES(an_id_is_looked_for_once),
    };
    return cmocka_run_group_tests_name("parked", tests, NULL, NULL);
}
