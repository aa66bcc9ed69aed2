/* Health that is watched, and the status of the auth service. */
#include "peer.h"

/* ------------------------------------------------------------------ a watch */
static uint32_t watch(world_t *w, const char *service)
{
    ensign_request_t r = ensign_health(w->client, service, true, w);
    if (!r.id) world_fail(w, "a good watch was refused");
    return r.id;
}

static stream_t *watched(world_t *w, size_t i, const char *service)
{
    stream_t *s = world_stream(w, i);
    ensign_slice_t m = world_request(w, s), f = { NULL, 0 };
    assert_string_equal(peer_field(s, ":path"), "/grpc.health.v1.Health/Watch");
    assert_null(peer_field(s, "authorization"));
    assert_int_equal(dec_field(m, 1, &f), service != NULL);
    if (service) assert_text(f, service);
    world_until(w, s->half_closed);
    return s;
}

static void tell(stream_t *s, unsigned state)
{
    bytes_t m = {0};
    if (state) enc_uint(&m, 1, state);
    peer_send(s, &m);
}

static void expect_health(world_t *w, uint32_t id, int state)
{
    const ensign_notice_t *n = world_expect(w, id, ENSIGN_NOTICE_HEALTH);
    assert_false(n->last);
    assert_ptr_equal(n->user, w);
    assert_int_equal(n->as.health.state, state);
}

SCRIPT(a_watch_tells_each_change)
{
    stream_t *s;
    uint32_t id;
    world_create_with_key(w);
    w->auth_manual = true;              /* no token is needed for it */
    id = watch(w, "default");
    s = watched(w, 0, "default");
    world_silent(w, id);
    tell(s, 1);
    expect_health(w, id, ENSIGN_HEALTH_SERVING);
    world_silent(w, id);
    tell(s, 2);
    expect_health(w, id, ENSIGN_HEALTH_NOT_SERVING);
    tell(s, 3);
    expect_health(w, id, ENSIGN_HEALTH_SERVICE_UNKNOWN);
    tell(s, 0);
    expect_health(w, id, ENSIGN_HEALTH_UNKNOWN);
    world_silent(w, id);
    watch(w, NULL);
    watched(w, 1, NULL);
    watch(w, "");
    watched(w, 2, NULL);
}

/* A reader that is late hears the latest state, once. */
SCRIPT(states_that_were_not_pulled_merge)
{
    stream_t *s;
    uint32_t id;
    unsigned i;
    world_create(w);
    id = watch(w, NULL);
    s = watched(w, 0, NULL);
    for (i = 0; i < 1000; i++) tell(s, i % 2 + 1);
    tell(s, 3);
    world_settle(w);
    expect_health(w, id, ENSIGN_HEALTH_SERVICE_UNKNOWN);
    world_silent(w, id);
    assert_in_range(w->live_peak, 1, ensign_memory_bound(&w->desc) + 100000);
}

SCRIPT(a_watch_has_no_time_limit)
{
    stream_t *s;
    uint32_t id;
    w->desc.request_timeout_ms = 700;
    world_create(w);
    id = watch(w, NULL);
    s = watched(w, 0, NULL);
    world_pass(w, 29000); /* to the first state it is open_timeout_ms */
    tell(s, 1);
    expect_health(w, id, ENSIGN_HEALTH_SERVING);
    world_pass(w, 3600000);
    tell(s, 2);
    expect_health(w, id, ENSIGN_HEALTH_NOT_SERVING);
    assert_int_equal(w->stream_count, 1);
}

SCRIPT(a_watch_outlives_its_connection)
{
    stream_t *s;
    uint32_t id;
    world_create(w);
    id = watch(w, "default");
    s = watched(w, 0, "default");
    tell(s, 1);
    expect_health(w, id, ENSIGN_HEALTH_SERVING);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    s = watched(w, 1, "default");
    assert_int_equal(s->conn->number, 1);
    world_silent(w, id);
    tell(s, 1);
    expect_health(w, id, ENSIGN_HEALTH_SERVING);       /* the same, told again */
    peer_finish(s, ENSIGN_GRPC_DEADLINE_EXCEEDED, "context deadline exceeded", NULL);
    s = watched(w, 2, "default");
    assert_int_equal(s->conn->number, 1);
    tell(s, 2);
    expect_health(w, id, ENSIGN_HEALTH_NOT_SERVING);
    peer_reset(s, NGHTTP2_INTERNAL_ERROR);
    s = watched(w, 3, "default");
    tell(s, 2);
    expect_health(w, id, ENSIGN_HEALTH_NOT_SERVING);
    peer_finish(s, 0, NULL, NULL);
    tell(watched(w, 4, "default"), 1);
    expect_health(w, id, ENSIGN_HEALTH_SERVING);
}

/* What came before the connection was lost is told. */
SCRIPT(a_state_is_not_lost_with_the_connection)
{
    uint32_t id;
    world_create(w);
    id = watch(w, NULL);
    tell(watched(w, 0, NULL), 2);
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    expect_health(w, id, ENSIGN_HEALTH_NOT_SERVING);
    tell(watched(w, 1, NULL), 1);
    expect_health(w, id, ENSIGN_HEALTH_SERVING);
}

/* Streams that fail at once are not opened as fast as they fail. */
SCRIPT(a_watch_that_fails_backs_off)
{
    uint64_t began;
    size_t i;
    uint32_t id;
    w->desc.backoff_max_ms = 5000;
    world_create(w);
    id = watch(w, NULL);
    began = w->now;
    for (i = 0; i < 30; i++)
        peer_refuse(watched(w, i, NULL), ENSIGN_GRPC_UNAVAILABLE, "the server is in maintenance");
    assert_in_range(w->now - began, 10000, 200000);
    tell(watched(w, i, NULL), 1);
    expect_health(w, id, ENSIGN_HEALTH_SERVING);
}

SCRIPT(a_watch_gives_up)
{
    const ensign_notice_t *n = NULL;
    uint64_t began;
    size_t i = 0;
    uint32_t id;
    w->desc.give_up_after_ms = 20000;
    w->desc.backoff_max_ms = 1000;
    world_create(w);
    id = watch(w, NULL);
    began = w->now;
    while (!n) {
        world_until(w, w->stream_count > i || (n = world_pull(w, id)) != NULL);
        if (w->stream_count > i)
            peer_refuse(watched(w, i++, NULL), ENSIGN_GRPC_UNAVAILABLE, "the server is in maintenance");
        if (w->now - began > 100000) world_fail(w, "it does not give up");
    }
    assert_int_equal(n->type, ENSIGN_NOTICE_END);
    assert_int_equal(n->error->code, ENSIGN_E_UNAVAILABLE);
    assert_in_range(w->now - began, 19000, 23000);
}

SCRIPT(refusals_that_are_final)
{
    static const int statuses[] = { ENSIGN_GRPC_UNIMPLEMENTED, ENSIGN_GRPC_PERMISSION_DENIED };
    const ensign_notice_t *n;
    size_t i;
    uint32_t id;
    world_create(w);
    for (i = 0; i < COUNT(statuses); i++) {
        id = watch(w, NULL);
        peer_refuse(watched(w, i, NULL), statuses[i], "no such service");
        n = world_expect(w, id, ENSIGN_NOTICE_END);
        assert_true(n->last);
        assert_int_equal(n->as.end.status, statuses[i]);
        assert_int_equal(n->error->code, ENSIGN_E_GRPC - statuses[i]);
        assert_text(n->as.end.text, "no such service");
    }
    world_pass(w, 100000);
    assert_int_equal(w->stream_count, COUNT(statuses));
    id = watch(w, NULL);                /* a state, and then such an end */
    tell(watched(w, i, NULL), 2);
    peer_finish(w->streams[i], ENSIGN_GRPC_UNIMPLEMENTED, "gone", NULL);
    expect_health(w, id, ENSIGN_HEALTH_NOT_SERVING);
    n = world_expect(w, id, ENSIGN_NOTICE_END);
    assert_int_equal(n->error->code, ENSIGN_E_UNIMPLEMENTED);
    assert_int_equal(n->as.end.count, 1);
}

SCRIPT(nonsense_costs_a_stream)
{
    stream_t *s;
    uint32_t id;
    world_create(w);
    id = watch(w, NULL);
    s = watched(w, 0, NULL);
    tell(s, 1);
    peer_message(s, "\xff", 1);
    expect_health(w, id, ENSIGN_HEALTH_SERVING);
    s = watched(w, 1, NULL);
    tell(s, 2);
    expect_health(w, id, ENSIGN_HEALTH_NOT_SERVING);
    assert_int_equal(s->conn->number, 0);
}

SCRIPT(goaway_moves_a_watch)
{
    stream_t *s;
    uint32_t id;
    world_create(w);
    id = watch(w, NULL);
    s = watched(w, 0, NULL);
    tell(s, 1);
    expect_health(w, id, ENSIGN_HEALTH_SERVING);
    peer_goaway_notice(w);
    world_settle(w);
    if (w->conn[ENSIGN_LINK_RPC] == s->conn) peer_goaway(w, s->id, NGHTTP2_NO_ERROR, NULL);
    s = watched(w, 1, NULL);
    assert_int_equal(s->conn->number, 1);
    tell(s, 1);
    expect_health(w, id, ENSIGN_HEALTH_SERVING);
}

SCRIPT(forgetting_a_watch)
{
    stream_t *s;
    uint32_t id;
    world_create(w);
    id = watch(w, NULL);
    s = watched(w, 0, NULL);
    tell(s, 1);
    world_settle(w);
    assert_int_equal(ensign_forget(w->client, id), ENSIGN_OK);
    world_until(w, s->reset);
    assert_int_equal(s->reset_code, NGHTTP2_CANCEL);
    world_hear(w);
    assert_null(world_pull(w, 0));
    id = watch(w, NULL);                /* while it waits to be opened again */
    peer_refuse(watched(w, 1, NULL), ENSIGN_GRPC_UNAVAILABLE, "later");
    world_settle(w);
    assert_int_equal(ensign_forget(w->client, id), ENSIGN_OK);
    world_pass(w, 100000);
    assert_int_equal(w->stream_count, 2);
}

SCRIPT(closing_ends_a_watch)
{
    const ensign_notice_t *n;
    stream_t *s;
    uint32_t id;
    world_create(w);
    id = watch(w, NULL);
    s = watched(w, 0, NULL);
    tell(s, 1);
    expect_health(w, id, ENSIGN_HEALTH_SERVING);
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 1000), ENSIGN_OK);
    n = world_expect(w, id, ENSIGN_NOTICE_END);
    assert_true(n->last);
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED);
}

SCRIPT(a_service_s_name_has_a_limit)
{
    char name[514];
    memset(name, 'a', sizeof name - 1);
    name[513] = 0;
    world_create(w);
    assert_int_equal(ensign_health(w->client, name, false, NULL).id, 0);
    assert_int_equal(ensign_error(w->client)->code, ENSIGN_E_ARGUMENT);
}

/* ------------------------------------------------------------------ the auth service */
static const char fine[] = "{\"status\":\"ok\",\"uptime\":\"1h2m3.5s\",\"version\":\"0.12.9\"}";

static uint32_t ask(world_t *w)
{
    ensign_request_t r = ensign_auth_status(w->client, w);
    if (!r.id) world_fail(w, "ensign_auth_status was refused");
    return r.id;
}

static void asked(world_t *w, unsigned count)
{
    world_until(w, w->auth_requests >= count);
    world_settle(w);
    assert_int_equal(w->auth_requests, count);
    assert_string_equal(w->auth_path, "/v1/status");
}

static void expect_fine(world_t *w, uint32_t id)
{
    const ensign_notice_t *n = world_expect(w, id, ENSIGN_NOTICE_STATUS);
    assert_true(n->last);
    assert_null(n->error);
    assert_ptr_equal(n->user, w);
    assert_int_equal(n->as.status.state, ENSIGN_SERVICE_HEALTHY);
    assert_text(n->as.status.version, "0.12.9");
    assert_int_equal(n->as.status.uptime_ms, 3723500);
    assert_int_equal(n->as.status.not_before.seconds, 0);
}

/* A client that has its token; what is asked from now on is counted. */
static void manual(world_t *w)
{
    w->auth_manual = true;
    world_create_with_key(w);
    world_until(w, w->auth_requests == 1);
    auth_grant(w);
    world_settle(w);
    w->auth_requests = 0;
}

SCRIPT(auth_is_well)
{
    uint32_t id;
    manual(w);
    id = ask(w);
    asked(w, 1);
    assert_int_equal(strncmp(w->auth_head, "GET /v1/status HTTP/1.1\r\n", 25), 0);
    assert_non_null(strstr(w->auth_head, "Host: localhost:8088\r\n"));
    assert_null(strstr(w->auth_head, "uthorization"));
    assert_null(strstr(w->auth_head, w->desc.client_id));
    assert_string_equal(w->auth_body, "");
    world_silent(w, id);
    auth_answer(w, 200, fine);
    expect_fine(w, id);
    w->auth_chunked = true;
    id = ask(w);
    asked(w, 2);
    auth_answer(w, 200, fine);
    expect_fine(w, id);
}

/* In maintenance every route answers so. */
SCRIPT(auth_says_that_it_is_not)
{
    static const struct { const char *word; int state; } words[] = {
        { "maintenance", ENSIGN_SERVICE_MAINTENANCE },
        { "stopping", ENSIGN_SERVICE_OFFLINE },
    };
    size_t i;
    manual(w);
    for (i = 0; i < COUNT(words); i++) {
        char body[100];
        const ensign_notice_t *n;
        uint32_t id = ask(w);
        asked(w, (unsigned)i + 1);
        snprintf(body, sizeof body, "{\"status\":\"%s\",\"uptime\":\"250ms\",\"version\":\"v\"}",
                 words[i].word);
        auth_answer(w, 503, body);
        n = world_expect(w, id, ENSIGN_NOTICE_STATUS);
        assert_int_equal(n->as.status.state, words[i].state);
        assert_text(n->as.status.version, "v");
        assert_int_equal(n->as.status.uptime_ms, 250);
    }
}

SCRIPT(auth_tells_its_uptime_as_go_does)
{
    static const struct { const char *text; int64_t ms; } times[] = {
        { "0s", 0 },         { "1.5s", 1500 },        { "999.9ms", 999 }, { "12.3\xC2\xB5s", 0 },
        { "99999999999h", 0 }, { "1m0s", 60000 }, { "100h0m0.25s", 360000250 }, { "soon", 0 },  { "", 0 },
    };
    size_t i;
    manual(w);
    for (i = 0; i < COUNT(times); i++) {
        char body[100];
        uint32_t id = ask(w);
        asked(w, (unsigned)i + 1);
        snprintf(body, sizeof body, "{\"status\":\"ok\",\"uptime\":\"%s\"}", times[i].text);
        auth_answer(w, 200, body);
        assert_true(world_expect(w, id, ENSIGN_NOTICE_STATUS)->as.status.uptime_ms == times[i].ms);
    }
}

SCRIPT(answers_that_are_no_status)
{
    static const struct { int http; const char *body; } answers[] = {
        { 404, "{\"success\":false,\"error\":\"resource not found\"}" },
        { 404, "not found" },
        { 200, "<html></html>" },
        { 200, "" },
        { 200, "{\"status\":1}" },
        { 200, "[\"status\",\"ok\"]" },
        { 500, "" },
    };
    size_t i;
    manual(w);
    for (i = 0; i < COUNT(answers); i++) {
        const ensign_notice_t *n;
        uint32_t id = ask(w);
        asked(w, (unsigned)i + 1);
        auth_answer(w, answers[i].http, answers[i].body);
        n = world_expect(w, id, ENSIGN_NOTICE_END);
        assert_true(n->last);
        assert_ptr_equal(n->user, w);
        assert_int_not_equal(n->as.end.status, ENSIGN_GRPC_OK);
        assert_int_equal(n->error->code, ENSIGN_E_AUTH);
        assert_int_equal(n->error->native, answers[i].http);
        assert_non_null(strstr(n->error->text, "localhost:8088"));
    }
    assert_int_equal(w->failed, 0);
}

static void expect_auth_fault(world_t *w, uint32_t id)
{
    const ensign_notice_t *n = world_expect(w, id, ENSIGN_NOTICE_END);
    assert_true(n->last);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_UNAVAILABLE);
    assert_int_equal(n->error->code, ENSIGN_E_AUTH);
    assert_int_equal(n->error->native, 0);
    assert_non_null(strstr(n->error->text, "localhost:8088"));
}

/* An answer of no length goes on until the server closes. */
SCRIPT(an_auth_answer_may_end_at_close)
{
    ensign_call_desc_t d;
    uint32_t id, k;
    w->auth_manual = true;
    world_create_with_key(w);
    memset(&d, 0, sizeof d);
    d.method = "/test.Service/Method";
    k = ensign_call_open(w->client, &d).id;
    world_until(w, w->auth_requests == 1);
    auth_write(w, "HTTP/1.1 200 OK\r\n\r\n{\"access_token\":\"a.b.c\"}");
    world_settle(w);
    assert_int_equal(w->stream_count, 0); /* more may come */
    world_cut(w, ENSIGN_LINK_AUTH, 0);
    assert_string_equal(peer_field(world_stream(w, 0), "authorization"), "Bearer a.b.c");
    peer_finish(w->streams[0], 0, NULL, NULL);
    world_end(w, k, ENSIGN_GRPC_OK);
    id = ask(w);
    asked(w, 2);
    auth_write(w, "HTTP/1.1 200 OK\r\n\r\n");
    auth_write(w, fine);
    world_settle(w);
    world_cut(w, ENSIGN_LINK_AUTH, 0);
    expect_fine(w, id);
    assert_int_equal(w->auth_requests, 2);
}

SCRIPT(auth_that_is_cut_off)
{
    uint32_t id;
    manual(w);
    id = ask(w);
    asked(w, 1);
    world_cut(w, ENSIGN_LINK_AUTH, ECONNRESET);
    expect_auth_fault(w, id);
    id = ask(w);
    asked(w, 2);
    auth_write(w, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"status\":\"ok\"");
    world_settle(w);
    world_cut(w, ENSIGN_LINK_AUTH, 0);
    expect_auth_fault(w, id);
    id = ask(w);
    asked(w, 3);
    auth_write(w, "SMTP 220 hello\r\n\r\n");
    expect_auth_fault(w, id);
    id = ask(w);
    asked(w, 4);
    auth_answer(w, 200, fine);
    expect_fine(w, id);
}

SCRIPT(auth_that_is_not_there)
{
    uint64_t began = w->now;
    uint32_t id;
    manual(w);
    w->dial[ENSIGN_LINK_AUTH] = DIAL_REFUSE;
    id = ask(w);
    expect_auth_fault(w, id);
    w->resolve_fails = true;
    id = ask(w);
    expect_auth_fault(w, id);
    w->resolve_fails = false;
    w->dial[ENSIGN_LINK_AUTH] = DIAL_ACCEPT;
    id = ask(w);
    asked(w, 1);                        /* and is silent */
    assert_true(world_expect(w, id, ENSIGN_NOTICE_END)->error->code < 0);
    assert_in_range(w->now - began, 20000, 31000);
    id = ask(w);
    asked(w, 2);
    auth_answer(w, 200, fine);
    expect_fine(w, id);
}

SCRIPT(two_ask_at_once)
{
    uint32_t a, b;
    manual(w);
    a = ask(w);
    b = ask(w);
    asked(w, 1);
    auth_answer(w, 200, fine);
    world_settle(w);
    if (w->auth_requests > 1) auth_answer(w, 200, fine);
    expect_fine(w, b);
    expect_fine(w, a);
    a = ask(w);
    asked(w, w->auth_requests + 1);
    b = ask(w);                         /* while it is being asked */
    world_settle(w);
    auth_answer(w, 200, fine);
    expect_fine(w, a);
    if (!ensign_pending(w->client, b)) {
        asked(w, w->auth_requests + 1);
        auth_answer(w, 200, fine);
    }
    expect_fine(w, b);
}

/* What was asked before is no answer to one who asks now. */
SCRIPT(each_asks_anew)
{
    uint32_t id;
    const ensign_notice_t *n;
    manual(w);
    id = ask(w);
    asked(w, 1);
    auth_answer(w, 200, fine);
    expect_fine(w, id);
    world_pass(w, 1000);
    id = ask(w);
    asked(w, 2);
    auth_answer(w, 503, "{\"status\":\"maintenance\"}");
    n = world_expect(w, id, ENSIGN_NOTICE_STATUS);
    assert_int_equal(n->as.status.state, ENSIGN_SERVICE_MAINTENANCE);
    assert_int_equal(n->as.status.version.len, 0);
    assert_int_equal(n->as.status.uptime_ms, 0);
}

/* The token comes first, then the status. */
SCRIPT(asked_while_a_token_is_got)
{
    ensign_request_t r;
    uint32_t id;
    w->auth_manual = true;
    world_create_with_key(w);
    r = ensign_topic_list(w->client, NULL);
    world_until(w, w->auth_requests == 1);
    id = ask(w);
    world_settle(w);
    assert_string_equal(w->auth_path, "/v1/authenticate");
    assert_int_equal(w->auth_requests, 1);
    auth_grant(w);
    asked(w, 2);
    assert_non_null(peer_field(world_stream(w, 0), "authorization"));
    auth_answer(w, 200, fine);
    expect_fine(w, id);
    peer_message(w->streams[0], "", 0);
    peer_finish(w->streams[0], 0, NULL, NULL);
    world_end(w, r.id, ENSIGN_GRPC_OK);
}

/* A token is needed while the status is asked for. */
SCRIPT(asked_before_a_token_is_got)
{
    ensign_request_t r;
    uint32_t id;
    manual(w);
    id = ask(w);
    asked(w, 1);
    r = ensign_topic_list(w->client, NULL);
    peer_refuse(world_stream(w, 0), ENSIGN_GRPC_UNAUTHENTICATED, "expired");
    world_settle(w);
    assert_int_equal(w->auth_requests, 1);
    auth_answer(w, 200, fine);
    world_until(w, w->auth_requests == 2);
    assert_string_equal(w->auth_path, "/v1/authenticate");
    auth_grant(w);
    expect_fine(w, id);
    peer_message(world_stream(w, 1), "", 0);
    peer_finish(w->streams[1], 0, NULL, NULL);
    world_end(w, r.id, ENSIGN_GRPC_OK);
}

/* A service in maintenance gives no token, and tells why. */
SCRIPT(asked_where_no_token_is_to_be_had)
{
    static const char body[] = "{\"status\":\"maintenance\",\"uptime\":\"1s\",\"version\":\"v\"}";
    const ensign_notice_t *n = NULL;
    unsigned answered = 0;
    uint32_t id;
    w->auth_manual = true;
    world_create_with_key(w);
    id = ask(w);
    while (!n) {
        world_until(w, w->auth_requests > answered || (n = world_pull(w, id)) != NULL);
        if (w->auth_requests > answered) auth_answer(w, 503, body);
        answered = w->auth_requests;
    }
    assert_int_equal(n->type, ENSIGN_NOTICE_STATUS);
    assert_int_equal(n->as.status.state, ENSIGN_SERVICE_MAINTENANCE);
    assert_in_range(answered, 1, 4);
}

/* A token is still got while the status of the service cannot be. */
SCRIPT(a_status_that_fails_does_no_harm_to_tokens)
{
    ensign_request_t r;
    uint32_t id;
    manual(w);
    id = ask(w);
    asked(w, 1);
    r = ensign_topic_list(w->client, NULL);
    peer_refuse(world_stream(w, 0), ENSIGN_GRPC_UNAUTHENTICATED, "expired");
    auth_answer(w, 404, "");
    assert_int_equal(world_expect(w, id, ENSIGN_NOTICE_END)->error->code, ENSIGN_E_AUTH);
    world_until(w, w->auth_requests == 2);
    assert_string_equal(w->auth_path, "/v1/authenticate");
    auth_grant(w);
    world_stream(w, 1);
    ensign_forget(w->client, r.id);
}

SCRIPT(an_auth_url_without_a_key)
{
    ensign_request_t r;
    uint32_t id;
    w->auth_manual = true;
    w->desc.auth_url = "http://localhost:8088";
    world_create(w);
    r = ensign_topic_list(w->client, NULL);
    assert_null(peer_field(world_stream(w, 0), "authorization"));
    id = ask(w);
    asked(w, 1);
    auth_answer(w, 200, fine);
    expect_fine(w, id);
    world_pass(w, 1000);
    assert_int_equal(w->auth_requests, 1);
    assert_true(ensign_pending(w->client, r.id) == false);
}

SCRIPT(no_auth_service)
{
    world_create(w);
    assert_int_equal(ensign_auth_status(w->client, NULL).id, 0);
    assert_int_equal(ensign_error(w->client)->code, ENSIGN_E_STATE);
    assert_non_null(strstr(ensign_error(w->client)->text, "auth_url"));
}

SCRIPT(closing_and_forgetting_while_auth_is_asked)
{
    const ensign_notice_t *n;
    uint32_t id;
    manual(w);
    id = ask(w);
    asked(w, 1);
    assert_int_equal(ensign_forget(w->client, id), ENSIGN_OK);
    auth_answer(w, 200, fine);
    world_settle(w);
    assert_null(world_pull(w, id));
    id = ask(w);
    asked(w, 2);
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 5000), ENSIGN_OK);
    world_settle(w);
    auth_answer(w, 200, fine);
    expect_fine(w, id);
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED);
    world_close(w);
    world_begin(w, w->mode, w->seed);
    manual(w);
    id = ask(w);
    asked(w, 1);
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 300), ENSIGN_OK);
    n = world_expect(w, id, ENSIGN_NOTICE_END);
    assert_int_not_equal(n->as.end.status, ENSIGN_GRPC_OK);
    assert_non_null(n->error);
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED);
}

/* A client that has failed, or was closed, asks nobody any more. */
SCRIPT(an_end_leaves_no_question)
{
    unsigned dials;
    w->auth_manual = true;
    world_create_with_key(w);
    world_until(w, w->auth_requests == 1);
    ask(w);
    auth_answer(w, 403, "{}");
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_FAILED);
    dials = w->dials[ENSIGN_LINK_AUTH];
    world_pass(w, 60000);
    assert_int_equal(w->dials[ENSIGN_LINK_AUTH], dials);
    world_close(w);
    world_begin(w, w->mode, w->seed);
    manual(w);
    w->dial[ENSIGN_LINK_AUTH] = DIAL_REFUSE;
    ask(w);
    world_settle(w);
    ask(w);                         /* the link waits for its next try */
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 0), ENSIGN_OK);
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED);
    dials = w->dials[ENSIGN_LINK_AUTH];
    world_pass(w, 60000);
    assert_int_equal(w->dials[ENSIGN_LINK_AUTH], dials);
}

SCRIPT(an_auth_answer_stands)
{
    const ensign_notice_t *n;
    uint32_t id;
    manual(w);
    id = ask(w);
    asked(w, 1);
    auth_answer(w, 200, fine);
    n = world_expect(w, id, ENSIGN_NOTICE_STATUS);
    ask(w);
    asked(w, 2);
    auth_answer(w, 200, "{\"status\":\"ok\",\"version\":\"another\"}");
    world_pass(w, 1000);
    assert_text(n->as.status.version, "0.12.9");
}

SCRIPT(auth_that_never_answers)
{
    const ensign_notice_t *n;
    uint64_t began;
    uint32_t id;
    w->desc.request_timeout_ms = 700;
    manual(w);
    w->dial[ENSIGN_LINK_AUTH] = DIAL_SILENT;
    id = ask(w);
    began = w->now;
    n = world_expect(w, id, ENSIGN_NOTICE_END);
    assert_int_equal(n->error->code, ENSIGN_E_DEADLINE_EXCEEDED);
    assert_in_range(w->now - began, 700, 710);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(a_watch_tells_each_change),
        IN_MODES(states_that_were_not_pulled_merge),
        IN_MODES(a_watch_has_no_time_limit),
        IN_MODES(a_watch_outlives_its_connection),
        IN_MODES(a_state_is_not_lost_with_the_connection),
        IN_MODES(a_watch_that_fails_backs_off),
        IN_MODES(a_watch_gives_up),
        IN_MODES(refusals_that_are_final),
        IN_MODES(nonsense_costs_a_stream),
        IN_MODES(goaway_moves_a_watch),
        IN_MODES(forgetting_a_watch),
        IN_MODES(closing_ends_a_watch),
        IN_MODES(a_service_s_name_has_a_limit),
        IN_MODES(auth_is_well),
        IN_MODES(auth_says_that_it_is_not),
        IN_MODES(auth_tells_its_uptime_as_go_does),
        IN_MODES(answers_that_are_no_status),
        IN_MODES(an_auth_answer_may_end_at_close), IN_MODES(auth_that_is_cut_off),
        IN_MODES(auth_that_is_not_there),
        IN_MODES(two_ask_at_once),
        IN_MODES(each_asks_anew),
        IN_MODES(asked_while_a_token_is_got),
        IN_MODES(asked_before_a_token_is_got),
        IN_MODES(asked_where_no_token_is_to_be_had),
        IN_MODES(a_status_that_fails_does_no_harm_to_tokens),
        IN_MODES(an_auth_url_without_a_key),
        IN_MODES(no_auth_service),
        IN_MODES(closing_and_forgetting_while_auth_is_asked),
        IN_MODES(an_end_leaves_no_question),
        IN_MODES(an_auth_answer_stands),
        IN_MODES(auth_that_never_answers),
    };
    return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
