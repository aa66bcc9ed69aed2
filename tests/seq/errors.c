/* Errors: each gRPC status as an answer to each request, and what other clients of the service raise. */
#include "kinds.h"

static const char *const status_names[] = {
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
    "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
};

/* ------------------------------------------------------------------ gRPC's codes */
static void check_error(world_t *w, uint32_t id, int status, const char *text)
{
    const ensign_notice_t *n = kind_failed(w, id, ENSIGN_E_GRPC - status);
    char name[64];
    snprintf(name, sizeof name, "ENSIGN_E_%s", status_names[status]);
    assert_string_equal(ensign_result_name(n->error->code), name);
    assert_string_not_equal(ensign_result_text(n->error->code), "unknown result");
    assert_int_equal(n->as.end.status, status);
    assert_text(n->as.end.text, text);
    assert_true(n->as.end.from_server);
    if (!strstr(n->error->text, text)) world_fail(w, "no \"%s\" in: %s", text, n->error->text);
    if (!strstr(n->error->text, status_names[status]))
        world_fail(w, "no %s in: %s", status_names[status], n->error->text);
}

SCRIPT_OF_KINDS(each_status_has_its_error)
{
    char text[64];
    int status;
    world_create(w);
    for (status = 1; status < (int)COUNT(status_names); status++) {
        size_t before = w->stream_count;
        uint32_t id = kind_open(w, k, NULL);
        snprintf(text, sizeof text, "the words of %d", status);
        peer_refuse(kind_asked(w, k, before), status, text);
        world_settle(w);
        if (status == ENSIGN_GRPC_UNAUTHENTICATED && w->stream_count > before + 1)
            peer_refuse(kind_asked(w, k, before + 1), status, text);
        check_error(w, id, status, text);
        assert_in_range(w->stream_count, before + 1, before + 2);
    }
}

/* A status without words, and one that nobody has heard of. */
SCRIPT_OF_KINDS(statuses_at_the_edge)
{
    const ensign_notice_t *n;
    uint32_t id;
    world_create(w);
    id = kind_open(w, k, NULL);
    peer_only(kind_asked(w, k, 0), "200", "content-type", "application/grpc", "grpc-status", "9", NULL);
    n = kind_failed(w, id, ENSIGN_E_FAILED_PRECONDITION);
    assert_int_equal(n->as.end.text.len, 0);
    id = kind_open(w, k, NULL);
    peer_refuse(kind_asked(w, k, 1), 99, "of a later gRPC");
    n = world_expect(w, id, ENSIGN_NOTICE_END);
    assert_int_not_equal(n->as.end.status, ENSIGN_GRPC_OK);
    assert_true(n->error->code < 0);
    assert_text(n->as.end.text, "of a later gRPC");
    id = kind_open(w, k, NULL);
    peer_refuse(kind_asked(w, k, 2), 5, "100%25 \xE2\x82\xAC%0A%00%zz");
    n = kind_failed(w, id, ENSIGN_E_NOT_FOUND);     /* percent-encoded, and safe in a log all the same */
    assert_null(strchr(n->error->text, '\n'));
    assert_int_equal(strncmp((const char *)n->as.end.text.ptr, "100% \xE2\x82\xAC\n", 9), 0);
}

/* ------------------------------------------------------------------ what others raise */
static void refused(world_t *w, uint32_t id, int code)
{
    assert_int_equal(id, 0);
    assert_int_equal(ensign_error(w->client)->code, code);
    assert_true(ensign_error(w->client)->text[0] != 0);
}

static void serve(world_t *w, stream_t *s, ensign_slice_t m)
{
    const char *path = peer_field(s, ":path");
    if (strstr(path, "/Publish")) {
        service_publish(w, s, m);
    } else if (strstr(path, "/TopicExists")) {
        peer_message(s, "\x0a\x01n", 3);
        peer_finish(s, 0, NULL, NULL);
    }
}

static ensign_publisher_t publisher(world_t *w, const char *topic)
{
    ensign_publisher_desc_t d;
    ensign_publisher_t p;
    memset(&d, 0, sizeof d);
    d.topic = topic;
    service_reset();
    w->on_message = serve;
    w->on_half = service_half;
    world_create(w);
    p = ensign_publisher_open(w->client, &d);
    assert_int_not_equal(p.id, 0);
    return p;
}

static int publish(world_t *w, ensign_publisher_t p)
{
    ensign_event_t e;
    memset(&e, 0, sizeof e);
    e.data = text_slice("data");
    e.tag = 7;
    return ensign_publish(w->client, p, &e);
}

/* ValueError, TypeError, EnsignInvalidTopicError */
SCRIPT(bad_arguments)
{
    ensign_query_desc_t d;
    world_create(w);
    memset(&d, 0, sizeof d);
    refused(w, ensign_query_open(w->client, &d).id, ENSIGN_E_ARGUMENT);
    refused(w, ensign_topic_create(w->client, "", NULL, NULL).id, ENSIGN_E_ARGUMENT);
    refused(w, ensign_topic_exists(w->client, NULL, NULL, NULL).id, ENSIGN_E_ARGUMENT);
}

/* ValueError of cred_path */
SCRIPT(bad_files)
{
    ensign_desc_t d;
    ensign_error_t why;
    char buf[100];
    (void)w;
    memset(&d, 0, sizeof d);
    assert_int_equal(ensign_desc_file(&d, "tests/no such file", buf, sizeof buf, &why), ENSIGN_E_FILE);
    assert_non_null(strstr(why.text, "no such file"));
    assert_int_equal(ensign_desc_file(&d, "/dev/null", buf, sizeof buf, &why), ENSIGN_E_FORMAT);
    assert_int_equal(why.code, ENSIGN_E_FORMAT);
    assert_null(d.client_id);
}

/* AuthenticationError: the key is wrong */
SCRIPT(a_wrong_key)
{
    ensign_request_t r;
    const ensign_notice_t *n;
    w->auth_manual = true;
    world_create_with_key(w);
    r = ensign_topic_list(w->client, NULL);
    world_until(w, w->auth_requests == 1);
    auth_answer(w, 403, "{\"success\":false,\"error\":\"invalid credentials\"}");
    n = world_expect(w, r.id, ENSIGN_NOTICE_END);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_UNAUTHENTICATED);
    assert_int_equal(n->error->code, ENSIGN_E_CREDENTIALS);
    n = world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_FAILED);
    assert_int_equal(n->error->code, ENSIGN_E_CREDENTIALS);
    refused(w, ensign_topic_list(w->client, NULL).id, ENSIGN_E_STATE);
}

/* AuthenticationError: the service does not answer; it is asked again, for as long as agreed */
SCRIPT(a_failing_auth_service)
{
    ensign_call_desc_t d;
    ensign_request_t r;
    const ensign_notice_t *n;
    unsigned answered = 0;
    memset(&d, 0, sizeof d);
    d.method = "/test.Service/Method";
    w->desc.request_timeout_ms = 5000;
    w->desc.give_up_after_ms = 8000;
    w->auth_manual = true;
    world_create_with_key(w);
    r = ensign_topic_list(w->client, NULL);
    while (!w->failed) {
        world_until(w, w->auth_requests > answered || (world_hear(w), w->failed));
        if (w->failed) break;
        auth_answer(w, 500, "");
        world_settle(w);
        if (++answered > 1) continue;
        n = world_expect(w, ensign_call_open(w->client, &d).id, ENSIGN_NOTICE_END); /* it does not wait */
        assert_int_equal(n->as.end.status, ENSIGN_GRPC_UNAVAILABLE);
        assert_non_null(strstr(n->error->text, "HTTP 500"));
        d.wait_for_ready = true;
        assert_int_not_equal(ensign_call_open(w->client, &d).id, 0);
    }
    assert_true(answered > 3);
    assert_int_equal(w->last_error.code, ENSIGN_E_AUTH);
    assert_int_equal(w->last_error.native, 500);
    n = world_expect(w, r.id, ENSIGN_NOTICE_END);
    assert_int_equal(n->error->code, ENSIGN_E_DEADLINE_EXCEEDED);
    assert_non_null(strstr(n->error->text, "HTTP 500"));
}

/* UnknownTopicError */
SCRIPT(publishing_to_an_unknown_topic)
{
    ensign_publisher_t p = publisher(w, "nowhere");
    const ensign_notice_t *n;
    assert_int_equal(publish(w, p), ENSIGN_OK);
    n = world_await(w, p.id, ENSIGN_NOTICE_NACK);
    assert_int_equal(n->as.nack.code, ENSIGN_NACK_TOPIC_UNKNOWN);
    assert_int_equal(n->as.nack.stored, ENSIGN_STORED_NO);
    assert_int_equal(n->error->code, ENSIGN_E_NACK);
    assert_int_equal(n->error->native, ENSIGN_NACK_TOPIC_UNKNOWN);
    assert_non_null(strstr(n->error->text, "nowhere"));
}

/* UnknownTopicError of subscribe: the server drops names that are not there, and none is left */
SCRIPT(subscribing_to_an_unknown_topic)
{
    static const char *const topics[] = { "nowhere" };
    ensign_subscription_desc_t d;
    ensign_subscription_t sub;
    const ensign_notice_t *n;
    memset(&d, 0, sizeof d);
    d.topics = topics;
    d.topic_count = 1;
    world_create(w);
    sub = ensign_subscription_open(w->client, &d);
    peer_refuse(world_stream(w, 0), ENSIGN_GRPC_FAILED_PRECONDITION, "no topics available");
    n = world_expect(w, sub.id, ENSIGN_NOTICE_END);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_FAILED_PRECONDITION);
    assert_int_equal(n->error->code, ENSIGN_E_UNKNOWN_TOPIC);
    assert_text(n->as.end.text, "no topics available");
}

/* NackError */
SCRIPT(an_event_that_is_refused)
{
    ensign_publisher_t p = publisher(w, "weather");
    const ensign_notice_t *n;
    assert_int_equal(publish(w, p), ENSIGN_OK);
    heard_nack(w, 0, ENSIGN_NACK_MAX_EVENT_SIZE_EXCEEDED, "event size is too large");
    n = world_await(w, p.id, ENSIGN_NOTICE_NACK);
    assert_int_equal(n->as.nack.tag, 7);
    assert_int_equal(n->as.nack.code, ENSIGN_NACK_MAX_EVENT_SIZE_EXCEEDED);
    assert_int_equal(n->error->code, ENSIGN_E_NACK);
    assert_int_equal(n->error->native, ENSIGN_NACK_MAX_EVENT_SIZE_EXCEEDED);
    assert_non_null(strstr(n->error->text, "event size is too large"));
}

/* asyncio.TimeoutError of flush */
SCRIPT(a_flush_that_takes_too_long)
{
    ensign_publisher_t p = publisher(w, "weather");
    assert_int_equal(publish(w, p), ENSIGN_OK);
    assert_int_equal(ensign_publisher_drain(w->client, p, 500), ENSIGN_OK);
    assert_int_equal(world_await(w, p.id, ENSIGN_NOTICE_DRAINED)->as.drained.left, 1);
    heard_ack(w, 0);
    world_await(w, p.id, ENSIGN_NOTICE_ACK);
}

/* CouldNotAck, CouldNotNack */
SCRIPT(acks_of_what_was_not_received)
{
    ensign_subscription_desc_t d;
    ensign_subscription_t sub;
    memset(&d, 0, sizeof d);
    world_create(w);
    sub = ensign_subscription_open(w->client, &d);
    assert_int_equal(ensign_ack(w->client, sub, 12345), ENSIGN_E_STALE);
    assert_int_equal(ensign_nack(w->client, sub, 12345, ENSIGN_NACK_UNPROCESSED), ENSIGN_E_STALE);
    assert_int_equal(ensign_forget(w->client, sub.id), ENSIGN_OK);
    assert_int_equal(ensign_ack(w->client, sub, 12345), ENSIGN_E_HANDLE);
    assert_int_equal(ensign_error(w->client)->code, ENSIGN_E_HANDLE);
}

/* UnknownTopicError, EnsignTopicNotFoundError of a lookup */
SCRIPT(a_topic_that_is_not_found)
{
    const ensign_notice_t *n;
    ensign_request_t r;
    world_create(w);
    r = ensign_topic_by_name(w->client, "nowhere", NULL);
    peer_message(world_stream(w, 0), "", 0);
    peer_finish(w->streams[0], 0, NULL, NULL);
    n = kind_failed(w, r.id, ENSIGN_E_NOT_FOUND);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_NOT_FOUND);
    assert_false(n->as.end.from_server);
    assert_non_null(strstr(n->error->text, "nowhere"));
}

/* InvalidQueryError, QueryNoRows, CursorClosedError */
SCRIPT(queries_that_fail)
{
    ensign_query_desc_t d;
    ensign_query_t q;
    const ensign_notice_t *n;
    memset(&d, 0, sizeof d);
    d.sql = "SELECT";
    world_create(w);
    q = ensign_query_open(w->client, &d);
    peer_refuse(world_stream(w, 0), ENSIGN_GRPC_INVALID_ARGUMENT, "SELECT requires field projection or *");
    n = kind_failed(w, q.id, ENSIGN_E_INVALID_ARGUMENT);
    assert_text(n->as.end.text, "SELECT requires field projection or *");
    q = ensign_query_open(w->client, &d);
    peer_finish(world_stream(w, 1), 0, NULL, NULL);
    n = world_end(w, q.id, ENSIGN_GRPC_OK);
    assert_null(n->error);
    assert_int_equal(n->as.end.count, 0);
    q = ensign_query_open(w->client, &d);
    assert_int_equal(ensign_forget(w->client, q.id), ENSIGN_OK);
    assert_null(ensign_next_of(w->client, q.id));
    assert_int_equal(ensign_hold(w->client, q.id, true), ENSIGN_E_HANDLE);
}

/* EnsignTopicDestroyError: the state tells */
SCRIPT(a_topic_that_is_not_destroyed)
{
    bytes_t m = {0};
    ensign_request_t r;
    world_create(w);
    r = ensign_topic_destroy(w->client, ulid_of(weather_id), NULL);
    topic_status(&m, 1);
    peer_send(world_stream(w, 0), &m);
    peer_finish(w->streams[0], 0, NULL, NULL);
    assert_int_equal(world_expect(w, r.id, ENSIGN_NOTICE_TOPIC_STATE)->as.topic_state.state,
                     ENSIGN_TOPIC_READY);
}

/* EnsignTimeoutError: too long without a connection */
SCRIPT(a_server_that_does_not_come_back)
{
    ensign_subscription_desc_t d;
    ensign_subscription_t sub;
    const ensign_notice_t *n;
    uint64_t began = w->now;
    memset(&d, 0, sizeof d);
    w->desc.give_up_after_ms = 60000;
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    world_create(w);
    sub = ensign_subscription_open(w->client, &d);
    n = world_expect(w, sub.id, ENSIGN_NOTICE_END);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_UNAVAILABLE);
    assert_int_equal(n->error->code, ENSIGN_E_CONNECT);
    assert_in_range(w->now - began, 60000, 60100);
    n = world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_FAILED);
    assert_int_equal(n->error->code, ENSIGN_E_CONNECT);
}

/* EnsignClientClosingError */
SCRIPT(a_client_that_closes)
{
    ensign_publisher_t p = publisher(w, "weather");
    assert_int_equal(publish(w, p), ENSIGN_OK);
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 1000), ENSIGN_OK);
    assert_int_equal(publish(w, p), ENSIGN_E_STATE);
    refused(w, ensign_topic_list(w->client, NULL).id, ENSIGN_E_STATE);
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 2000), ENSIGN_OK); /* the time begins anew */
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(each_status_has_its_error),
        IN_MODES(statuses_at_the_edge),
        IN_MODES(bad_arguments),
        IN_MODES(bad_files),
        IN_MODES(a_wrong_key),
        IN_MODES(a_failing_auth_service),
        IN_MODES(publishing_to_an_unknown_topic),
        IN_MODES(subscribing_to_an_unknown_topic),
        IN_MODES(an_event_that_is_refused),
        IN_MODES(a_flush_that_takes_too_long),
        IN_MODES(acks_of_what_was_not_received),
        IN_MODES(a_topic_that_is_not_found),
        IN_MODES(queries_that_fail),
        IN_MODES(a_topic_that_is_not_destroyed),
        IN_MODES(a_server_that_does_not_come_back),
        IN_MODES(a_client_that_closes),
    };
    int rc = cmocka_run_group_tests_name("errors", tests, NULL, NULL);
    service_reset();
    return rc;
}
