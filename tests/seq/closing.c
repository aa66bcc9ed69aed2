/* What waits to be pulled when a client closes: it is still there, and holds up nothing. */
#include "service.h"

static void answer(stream_t *s, const bytes_t *reply)
{
    peer_message(s, reply->p, reply->len);
    peer_finish(s, 0, NULL, NULL);
}

SCRIPT(an_answer_that_is_held_does_not_keep_the_client_open)
{
    const ensign_notice_t *n;
    ensign_request_t r;
    bytes_t reply = {0};
    world_create(w);
    r = ensign_topic_create(w->client, "weather", NULL, NULL);
    assert_int_equal(ensign_hold(w->client, r.id, true), ENSIGN_OK);
    service_topic(&reply, 0, "weather", weather_id);
    answer(world_stream(w, 0), &reply);
    world_until(w, ensign_pending(w->client, r.id));
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 300), ENSIGN_OK);
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED);
    n = ensign_next_of(w->client, r.id);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_TOPIC);
    assert_text(n->as.topic->name, "weather");
    bytes_free(&reply);
}

/* Topics of a page that came before the end can be read as late as one likes. */
SCRIPT(a_list_that_was_ended_tells_why_however_late)
{
    const ensign_notice_t *n;
    ensign_request_t r;
    bytes_t reply = {0};
    world_create(w);
    r = ensign_topic_list(w->client, NULL);
    service_topic(&reply, 1, "weather", weather_id);
    enc_text(&reply, 2, "next");
    answer(world_stream(w, 0), &reply);
    world_until(w, ensign_pending(w->client, r.id));
    assert_int_equal(ensign_hold(w->client, r.id, true), ENSIGN_OK);
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 300), ENSIGN_OK);
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED);
    assert_non_null(n = ensign_next_of(w->client, r.id));
    assert_int_equal(n->type, ENSIGN_NOTICE_TOPIC);
    for (int i = 0; i < 2; i++) ensign_tick(w->client, w->now += 40000);
    assert_non_null(n = ensign_next_of(w->client, r.id));
    assert_int_equal(n->type, ENSIGN_NOTICE_END);
    assert_int_equal(n->error->code, ENSIGN_E_CANCELLED);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_CANCELLED);
    assert_int_equal(n->as.end.count, 1);
    bytes_free(&reply);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(an_answer_that_is_held_does_not_keep_the_client_open),
        IN_MODES(a_list_that_was_ended_tells_why_however_late),
    };
    return cmocka_run_group_tests_name("closing", tests, NULL, NULL);
}
