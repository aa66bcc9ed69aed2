/* Tokens: asked for once, renewed in time, asked for again when refused, and final when the key is wrong. */
#include "service.h"

static uint32_t call(world_t *w)
{
    ensign_call_desc_t d;
    memset(&d, 0, sizeof d);
    d.method = "/test.Service/Method";
    d.wait_for_ready = true;
    return ensign_call_open(w->client, &d).id;
}

/* A stream that stays open, so that a token is needed for ever. */
static ensign_subscription_t subscription(world_t *w)
{
    ensign_subscription_desc_t d;
    memset(&d, 0, sizeof d);
    return ensign_subscription_open(w->client, &d);
}

static void check_token(world_t *w, size_t i, const char *token)
{
    char want[600];
    const char *got = peer_field(world_stream(w, i), "authorization");
    snprintf(want, sizeof want, "Bearer %s", token);
    assert_non_null(got);
    assert_string_equal(got, want);
}

/* The value of a string member of the flat JSON object `body`. */
static void member(const char *body, const char *key, char *out, size_t cap)
{
    char quoted[64];
    const char *p;
    size_t n = 0;
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    p = strstr(body, quoted);
    assert_non_null(p);
    p += strlen(quoted);
    p += strspn(p, " \t\r\n:");
    assert_true(*p == '"');
    for (p++; *p && *p != '"' && n + 1 < cap; p++) {
        if (*p == '\\') p++;
        out[n++] = *p;
    }
    out[n] = 0;
}

static void manual(world_t *w)
{
    w->auth_manual = true;
    world_create_with_key(w);
}

static void await_request(world_t *w, unsigned count, const char *path)
{
    world_until(w, w->auth_requests >= count);
    world_settle(w);
    assert_int_equal(w->auth_requests, count);
    assert_string_equal(w->auth_path, path);
}

/* ------------------------------------------------------------------ asking */
SCRIPT(a_key_becomes_a_bearer_token)
{
    char text[200];
    size_t i;
    manual(w);
    for (i = 0; i < 5; i++) assert_int_not_equal(call(w), 0);
    await_request(w, 1, "/v1/authenticate");
    world_pass(w, 5000);
    assert_int_equal(w->auth_requests, 1);
    assert_int_equal(w->stream_count, 0);
    assert_true(strncmp(w->auth_head, "POST /v1/authenticate HTTP/1.1\r\n", 32) == 0);
    assert_non_null(strstr(w->auth_head, "Host: localhost:8088\r\n"));
    assert_non_null(strstr(w->auth_head, "Content-Type: application/json"));
    member(w->auth_body, "client_id", text, sizeof text);
    assert_string_equal(text, w->desc.client_id);
    member(w->auth_body, "client_secret", text, sizeof text);
    assert_string_equal(text, w->desc.client_secret);
    auth_grant(w);
    for (i = 0; i < 5; i++) check_token(w, i, w->access);
    world_settle(w);
    assert_int_equal(w->auth_requests, 1);
}

SCRIPT(a_secret_is_escaped)
{
    char text[64];
    w->auth_manual = true;
    w->desc.auth_url = "http://localhost:8088/";
    w->desc.client_id = "id";
    w->desc.client_secret = "a\"b\\c";
    world_create(w);
    call(w);
    await_request(w, 1, "/v1/authenticate");
    member(w->auth_body, "client_secret", text, sizeof text);
    assert_string_equal(text, "a\"b\\c");
}

/* Such an end is neither a failure of the address nor one that makes the next exchange wait. */
SCRIPT(an_answer_may_end_where_the_server_closes)
{
    manual(w);
    call(w);
    await_request(w, 1, "/v1/authenticate");
    auth_write(w, "HTTP/1.0 200 OK\r\n\r\n{\"access_token\":\"opaque\"}");
    world_settle(w);
    assert_int_equal(w->stream_count, 0);
    world_cut(w, ENSIGN_LINK_AUTH, 0);
    check_token(w, 0, "opaque");
    assert_int_equal(w->client->auth_target.backoff.failures, 0);
    assert_false(ensi_target_waits(&w->client->auth_target));
    assert_string_equal(w->client->auth_target.end->good_address, "127.0.0.1");
}

SCRIPT(answers_in_chunks)
{
    w->auth_chunked = true;
    world_create_with_key(w);
    call(w);
    world_stream(w, 0);
    check_token(w, 0, w->access);
    assert_int_equal(w->auth_requests, 1);
}

SCRIPT(other_ways_to_send_a_token)
{
    ensign_header_t own;
    ensign_call_desc_t d;
    w->desc.token = "fixed";
    world_create(w);
    call(w);
    check_token(w, 0, "fixed");
    memset(&d, 0, sizeof d);
    d.method = "/test.Service/Method";
    d.no_token = true;
    assert_int_not_equal(ensign_call_open(w->client, &d).id, 0);
    assert_null(peer_field(world_stream(w, 1), "authorization"));
    d.no_token = false;
    d.metadata = &own;
    d.metadata_count = 1;
    own.key = "authorization";
    own.value = text_slice("Basic own");
    assert_int_not_equal(ensign_call_open(w->client, &d).id, 0);
    assert_string_equal(peer_field(world_stream(w, 2), "authorization"), "Basic own");
    assert_int_equal(w->auth_requests, 0);
}

/* The harness searches each block that is given back: nghttp2's copies of headers, buffers, the metadata. */
SCRIPT(nothing_given_back_has_a_fixed_token_in_it)
{
    static const char token[] = "a-fixed-token-that-nobody-else-may-ever-read";
    ensign_header_t own;
    ensign_call_desc_t d;
    char basic[80];
    size_t i;
    w->desc.token = token;
    world_create(w);
    memset(&d, 0, sizeof d);
    d.method = "/test.Service/Method";
    d.wait_for_ready = true;
    d.metadata = &own;
    own.key = "authorization";
    snprintf(basic, sizeof basic, "Basic %s", token);
    own.value = text_slice(basic);
    for (i = 0; i < 6; i++) {
        uint32_t k;
        d.metadata_count = i % 2;
        k = ensign_call_open(w->client, &d).id;
        assert_string_equal(peer_field(world_stream(w, i), "authorization") + 6 + !(i % 2), token);
        if (i < 4) assert_int_equal(ensign_cancel(w->client, k), ENSIGN_OK);
        else assert_int_equal(ensign_forget(w->client, k), ENSIGN_OK);
        if (i == 3) world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    }
}

/* Of the key and both tokens, over an exchange, a renewal and a loss of each link. */
SCRIPT(nothing_given_back_has_a_key_in_it)
{
    world_create_with_key(w);
    call(w);
    world_stream(w, 0);
    check_token(w, 0, w->access);
    subscription(w);
    service_ready(world_stream(w, 1), 2);
    world_pass(w, 2900 * 1000);
    assert_int_equal(w->auth_requests, 2);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    check_token(w, 2, (world_stream(w, 2), w->access));
}

SCRIPT(a_call_without_a_token_does_not_wait_for_one)
{
    ensign_call_desc_t d;
    manual(w);
    memset(&d, 0, sizeof d);
    d.method = "/test.Service/Public";
    d.no_token = true;
    assert_int_not_equal(ensign_call_open(w->client, &d).id, 0);
    assert_null(peer_field(world_stream(w, 0), "authorization"));
}

/* ------------------------------------------------------------------ renewing */
SCRIPT(tokens_are_renewed_ahead_of_expiry)
{
    char old[512], text[600];
    uint64_t began;
    world_create_with_key(w);
    subscription(w);
    world_stream(w, 0);
    service_ready(w->streams[0], 2);
    began = w->now;
    strcpy(old, w->refresh);
    w->auth_manual = true;
    world_pass(w, 2870 * 1000);
    assert_int_equal(w->auth_requests, 1);
    w->patience_ms = 800000;
    await_request(w, 2, "/v1/refresh");
    assert_in_range(w->now - began, 2875 * 1000, 2890 * 1000);
    member(w->auth_body, "refresh_token", text, sizeof text);
    assert_string_equal(text, old);
    auth_grant(w);
    world_settle(w);
    call(w);
    check_token(w, 1, w->access);
    assert_false(w->streams[0]->closed);
    assert_int_equal(w->conn[ENSIGN_LINK_RPC]->number, 0);
}

SCRIPT(not_before_the_refresh_token_is_good)
{
    uint64_t began;
    w->overlap_s = 100;
    world_create_with_key(w);
    subscription(w);
    world_stream(w, 0);
    began = w->now;
    world_pass(w, 3490 * 1000);
    assert_int_equal(w->auth_requests, 1);
    await_request(w, 2, "/v1/refresh");
    assert_in_range(w->now - began, 3495 * 1000, 3600 * 1000);
}

SCRIPT(a_refused_refresh_falls_back_on_the_key)
{
    w->desc.open_timeout_ms = ENSIGN_FOREVER; /* the subscription is not answered */
    world_create_with_key(w);
    subscription(w);
    world_stream(w, 0);
    w->auth_manual = true;
    world_pass(w, 2800 * 1000);
    await_request(w, 2, "/v1/refresh");
    auth_answer(w, 403, "{\"success\":false,\"error\":\"Logged out of your account - please log back in!\"}");
    await_request(w, 3, "/v1/authenticate");
    auth_grant(w);
    world_settle(w);
    call(w);
    check_token(w, 1, w->access);
    world_hear(w);
    assert_int_equal(w->failed, 0);
}

static void lives_an_hour(world_t *w)
{
    unsigned asked;
    world_create_with_key(w);
    subscription(w);
    check_token(w, 0, w->access);
    asked = w->auth_requests;
    assert_int_equal(asked, 1);
    world_pass(w, 2800 * 1000);
    assert_int_equal(w->auth_requests, 1);
    world_pass(w, 300 * 1000);
    assert_int_equal(w->auth_requests, 2);
    assert_string_equal(w->auth_path, "/v1/refresh");
}

SCRIPT(a_clock_far_ahead_does_no_harm)
{
    w->wall = 1900000000000;
    lives_an_hour(w);
}

SCRIPT(a_clock_far_behind_does_no_harm)
{
    w->wall = 86400000;
    lives_an_hour(w);
}

SCRIPT(no_clock_does_no_harm)
{
    w->wall = 0;
    lives_an_hour(w);
}

/* ------------------------------------------------------------------ failing */
static void wrong_key(world_t *w, int status)
{
    ensign_publisher_desc_t d;
    ensign_publisher_t p;
    ensign_event_t e;
    const ensign_notice_t *n;
    uint32_t k;
    manual(w);
    memset(&d, 0, sizeof d);
    memset(&e, 0, sizeof e);
    d.topic = "weather";
    k = call(w);
    p = ensign_publisher_open(w->client, &d);
    e.tag = 5;
    assert_int_equal(ensign_publish(w->client, p, &e), ENSIGN_OK);
    await_request(w, 1, "/v1/authenticate");
    auth_answer(w, status, "{\"success\":false,\"error\":\"invalid credentials\"}");
    n = world_await(w, k, ENSIGN_NOTICE_END);
    assert_int_not_equal(n->as.end.status, ENSIGN_GRPC_OK);
    assert_true(n->last);
    assert_int_equal(n->error->code, ENSIGN_E_CREDENTIALS);
    n = world_expect(w, p.id, ENSIGN_NOTICE_NACK);
    assert_int_equal(n->as.nack.tag, 5);
    assert_int_equal(n->as.nack.stored, ENSIGN_STORED_NO);
    assert_true(world_expect(w, p.id, ENSIGN_NOTICE_END)->last);
    n = world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_FAILED);
    assert_int_equal(n->error->code, ENSIGN_E_CREDENTIALS);
    assert_non_null(strstr(n->error->text, "invalid credentials"));
    world_pass(w, 100000);
    assert_int_equal(w->auth_requests, 1);
    assert_int_equal(call(w), 0);
}

SCRIPT(a_wrong_key_is_final)
{
    wrong_key(w, 403);
}

SCRIPT(missing_credentials_are_final)
{
    wrong_key(w, 400);
}

SCRIPT(failed_comes_after_the_ends)
{
    const ensign_notice_t *n;
    int ends = 0;
    manual(w);
    call(w);
    call(w);
    await_request(w, 1, "/v1/authenticate");
    auth_answer(w, 403, "{\"success\":false,\"error\":\"invalid credentials\"}");
    for (;;) {
        n = world_next(w, 0);
        if (n->type == ENSIGN_NOTICE_END) ends++;
        if (n->type == ENSIGN_NOTICE_FAILED) break;
    }
    assert_int_equal(ends, 2);
}

SCRIPT(a_failing_auth_service_is_asked_again)
{
    unsigned n = 0;
    uint64_t before;
    manual(w);
    call(w);
    await_request(w, ++n, "/v1/authenticate");
    auth_answer(w, 500, "{\"success\":false,\"error\":\"could not complete request\"}");
    before = w->now;
    await_request(w, ++n, "/v1/authenticate");
    auth_answer(w, 429, "{\"success\":false,\"error\":\"rate limit reached: too many requests\"}");
    await_request(w, ++n, "/v1/authenticate");
    auth_answer(w, 503, "");
    await_request(w, ++n, "/v1/authenticate");
    auth_answer(w, 200, "<html>not JSON</html>");
    await_request(w, ++n, "/v1/authenticate");
    auth_answer(w, 200, "{\"access_token\":\"not-a-jwt\",\"refresh_token\":\"x\"}");
    world_until(w, w->auth_requests > n || w->stream_count);
    if (w->stream_count) return;        /* a token need not be a JWT to be sent */
    await_request(w, ++n, "/v1/authenticate");
    auth_write(w, "this is no HTTP at all\r\n\r\n");
    await_request(w, ++n, "/v1/authenticate");
    auth_write(w, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"access");
    world_settle(w);
    world_cut(w, ENSIGN_LINK_AUTH, ECONNRESET);
    await_request(w, ++n, "/v1/authenticate");
    assert_true(w->now > before);
    auth_grant(w);
    check_token(w, 0, w->access);
    world_hear(w);
    assert_int_equal(w->failed, 0);
}

SCRIPT(a_silent_auth_service_is_asked_again)
{
    uint64_t began = w->now;
    manual(w);
    call(w);
    await_request(w, 1, "/v1/authenticate");
    await_request(w, 2, "/v1/authenticate");
    assert_in_range(w->now - began, 19000, 60000);
    auth_grant(w);
    check_token(w, 0, w->access);
}

SCRIPT(the_auth_service_may_be_unreachable)
{
    w->dial[ENSIGN_LINK_AUTH] = DIAL_REFUSE;
    world_create_with_key(w);
    call(w);
    world_until(w, w->dials[ENSIGN_LINK_AUTH] >= 3);
    assert_int_equal(w->stream_count, 0);
    w->dial[ENSIGN_LINK_AUTH] = DIAL_ACCEPT;
    check_token(w, 0, (world_stream(w, 0), w->access));
}

/* The deadline of a call runs while its token is awaited. */
SCRIPT(deadlines_run_while_a_token_is_awaited)
{
    ensign_call_desc_t d;
    uint64_t began = w->now;
    manual(w);
    memset(&d, 0, sizeof d);
    d.method = "/test.Service/Method";
    d.deadline_ms = 700;
    world_end(w, ensign_call_open(w->client, &d).id, ENSIGN_GRPC_DEADLINE_EXCEEDED);
    assert_in_range(w->now - began, 700, 710);
}

SCRIPT(unauthenticated_means_once_more)
{
    ensign_subscription_t sub;
    const ensign_notice_t *n;
    uint32_t k;
    world_create_with_key(w);
    sub = subscription(w);
    peer_refuse(world_stream(w, 0), ENSIGN_GRPC_UNAUTHENTICATED, "invalid credentials");
    world_stream(w, 1);
    assert_int_equal(w->auth_requests, 2);
    assert_string_equal(w->auth_path, "/v1/authenticate");
    check_token(w, 1, w->access);
    service_ready(w->streams[1], 2);
    n = world_await(w, sub.id, ENSIGN_NOTICE_OPEN);
    assert_int_equal(w->access_serial, 2);
    k = call(w);
    peer_refuse(world_stream(w, 2), ENSIGN_GRPC_UNAUTHENTICATED, "invalid credentials");
    world_until(w, w->stream_count > 3 || (n = world_pull(w, k)) != NULL);
    if (w->stream_count > 3) {      /* sent again by itself, with a new token: once */
        check_token(w, 3, w->access);
        peer_refuse(w->streams[3], ENSIGN_GRPC_UNAUTHENTICATED, "invalid credentials");
        n = world_next(w, k);
    }
    assert_int_equal(n->type, ENSIGN_NOTICE_END);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_UNAUTHENTICATED);
    assert_true(w->stream_count <= 4);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(a_key_becomes_a_bearer_token),
        IN_MODES(a_secret_is_escaped),
        IN_MODES(an_answer_may_end_where_the_server_closes),
        IN_MODES(answers_in_chunks),
        IN_MODES(other_ways_to_send_a_token),
        IN_MODES(nothing_given_back_has_a_fixed_token_in_it),
        IN_MODES(nothing_given_back_has_a_key_in_it),
        IN_MODES(a_call_without_a_token_does_not_wait_for_one),
        IN_MODES(tokens_are_renewed_ahead_of_expiry),
        IN_MODES(not_before_the_refresh_token_is_good),
        IN_MODES(a_refused_refresh_falls_back_on_the_key),
        IN_MODES(a_clock_far_ahead_does_no_harm),
        IN_MODES(a_clock_far_behind_does_no_harm),
        IN_MODES(no_clock_does_no_harm),
        IN_MODES(a_wrong_key_is_final),
        IN_MODES(missing_credentials_are_final),
        IN_MODES(failed_comes_after_the_ends),
        IN_MODES(a_failing_auth_service_is_asked_again),
        IN_MODES(a_silent_auth_service_is_asked_again),
        IN_MODES(the_auth_service_may_be_unreachable),
        IN_MODES(deadlines_run_while_a_token_is_awaited),
        IN_MODES(unauthenticated_means_once_more),
    };
    return cmocka_run_group_tests_name("auth", tests, NULL, NULL);
}
