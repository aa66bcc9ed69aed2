/* TLS sessions that are resumed by tickets: by whom, for how long, and when never. The servers here share their
 * ticket keys, so each would take any ticket that it is offered. */
#include "service.h"
#include "secure.h"

static dial_t answers[2];           /* of the endpoints at 192.0.2.1 and 192.0.2.2 */

static dial_t on_dial(world_t *w, int link, const char *address)
{
    (void)w;
    return link == ENSIGN_LINK_AUTH ? DIAL_ACCEPT : answers[address[strlen(address) - 1] - '1'];
}

static void begin(world_t *w)
{
    w->secure = secure_open(w->seed);
    answers[0] = answers[1] = DIAL_ACCEPT;
    w->on_dial = on_dial;
    w->desc.tls.off = false;
    w->desc.tls.ca_pem = w->desc.auth_tls.ca_pem = secure_ca();
    w->desc.tls.server_name = w->desc.auth_tls.server_name = "localhost";
    w->desc.random = secure_random;
    w->desc.endpoint = "192.0.2.1:1,192.0.2.2:1";
    w->desc.keepalive_ms = ENSIGN_FOREVER;
}

/* The stream of that number is there: over which endpoint, and with a session of before? */
static bool resumed(world_t *w, size_t stream, const char *endpoint)
{
    ensign_link_info_t info;
    (void)world_stream(w, stream);
    assert_int_equal(ensign_link_info(w->client, ENSIGN_LINK_RPC, &info), ENSIGN_OK);
    assert_string_equal(info.endpoint, endpoint);
    assert_string_equal(info.alpn, "h2");
    return info.resumed;
}

SCRIPT(a_connection_that_is_made_again_resumes)
{
    begin(w);
    world_create(w);
    service_subscribe(w);
    assert_false(resumed(w, 0, "192.0.2.1:1"));
    for (size_t i = 1; i < 4; i++) {
        world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
        assert_true(resumed(w, i, "192.0.2.1:1"));
    }
}

SCRIPT(no_resume_makes_each_handshake_a_full_one)
{
    begin(w);
    w->desc.tls.no_resume = true;
    world_create(w);
    service_subscribe(w);
    assert_false(resumed(w, 0, "192.0.2.1:1"));
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    assert_false(resumed(w, 1, "192.0.2.1:1"));
}

/* Each endpoint has a session of its own. */
SCRIPT(a_session_is_of_one_endpoint)
{
    begin(w);
    world_create(w);
    service_subscribe(w);
    assert_false(resumed(w, 0, "192.0.2.1:1"));
    answers[0] = DIAL_REFUSE;
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    assert_false(resumed(w, 1, "192.0.2.2:1"));
    answers[0] = DIAL_ACCEPT;
    answers[1] = DIAL_REFUSE;
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    assert_true(resumed(w, 2, "192.0.2.1:1"));
    answers[0] = DIAL_REFUSE;
    answers[1] = DIAL_ACCEPT;
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    assert_true(resumed(w, 3, "192.0.2.2:1"));
}

/* One that was offered in a handshake which failed is not offered again. */
SCRIPT(a_failed_handshake_drops_the_session)
{
    begin(w);
    world_create(w);
    service_subscribe(w);
    assert_false(resumed(w, 0, "192.0.2.1:1"));
    w->cut_in[ENSIGN_LINK_RPC] = 40; /* of the next connection: in the midst of the ServerHello */
    answers[1] = DIAL_REFUSE;
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    world_until(w, w->cut_in[ENSIGN_LINK_RPC] < 0);
    assert_false(resumed(w, 1, "192.0.2.1:1"));
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    assert_true(resumed(w, 2, "192.0.2.1:1"));
}

/* A day after its certificate was verified it is verified again. */
SCRIPT(a_session_is_kept_for_a_day)
{
    const uint64_t day_ms = 24 * 3600 * 1000;
    begin(w);
    w->patience_ms = 2 * day_ms;
    world_create(w);
    service_subscribe(w);
    assert_false(resumed(w, 0, "192.0.2.1:1"));
    w->now += day_ms / 2;
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    assert_true(resumed(w, 1, "192.0.2.1:1"));
    w->now += day_ms / 2;
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    assert_false(resumed(w, 2, "192.0.2.1:1")); /* that it was resumed in between does not count */
}

/* The same host and name: yet a session of the one is never shown to the other. */
SCRIPT(the_auth_service_has_sessions_of_its_own)
{
    ensign_link_info_t info;
    begin(w);
    w->desc.endpoint = "192.0.2.1:1";
    w->desc.auth_url = "https://192.0.2.1:1";
    w->desc.client_id = "id";
    w->desc.client_secret = "a-secret-of-more-than-24-characters";
    w->auth_manual = true;
    world_create(w);
    service_subscribe(w);
    world_until(w, w->auth_requests == 1 && w->connected + ensign_pending(w->client, ENSIGN_CLIENT) > 0);
    assert_int_equal(ensign_link_info(w->client, ENSIGN_LINK_RPC, &info), ENSIGN_OK);
    assert_false(info.resumed);
    assert_int_equal(ensign_link_info(w->client, ENSIGN_LINK_AUTH, &info), ENSIGN_OK);
    assert_false(info.resumed);
    world_settle(w); /* TLS 1.3: the ticket comes behind the handshake, in its own time */
    world_cut(w, ENSIGN_LINK_AUTH, ECONNRESET);
    world_until(w, w->auth_requests == 2);
    assert_int_equal(ensign_link_info(w->client, ENSIGN_LINK_AUTH, &info), ENSIGN_OK);
    assert_true(info.resumed);
    assert_null(info.alpn);
}

static const char *on_connect(world_t *w, conn_t *c, const char *head)
{
    (void)w;
    (void)c;
    assert_int_equal(strncmp(head, "CONNECT 192.0.2.", 16), 0);
    return "HTTP/1.1 200 OK\r\n\r\n";
}

/* TLS begins behind the proxy's answer, and its session is the endpoint's. */
SCRIPT(a_session_is_resumed_through_a_proxy)
{
    begin(w);
    w->on_connect = on_connect;
    w->desc.proxy = "192.0.2.1:3128";
    world_create(w);
    service_subscribe(w);
    assert_false(resumed(w, 0, "192.0.2.1:1"));
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    assert_true(resumed(w, 1, "192.0.2.1:1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_MODES(a_connection_that_is_made_again_resumes),
        IN_MODES(no_resume_makes_each_handshake_a_full_one),
        IN_MODES(a_session_is_of_one_endpoint),
        IN_MODES(a_failed_handshake_drops_the_session),
        IN_MODES(a_session_is_kept_for_a_day),
        IN_MODES(the_auth_service_has_sessions_of_its_own),
        IN_MODES(a_session_is_resumed_through_a_proxy),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    secure_close();
    return rc;
}
