/* A server of several endpoints: they are tried in turn within one round, the one that worked last comes
 * first, and a failure is told when each of them has failed. Unix sockets. */
#include "dials.h"

static void begin(world_t *w, int link, dial_t others, dial_t last)
{
    dials_begin(w, link, 3, others, last);
    w->desc.endpoint = "192.0.2.1:5351, 192.0.2.2:5352,192.0.2.3:5353";
    if (link == ENSIGN_LINK_RPC) return;
    w->desc.endpoint = "localhost:5356";
    w->desc.allow_plaintext_token = true;
    w->desc.auth_url = "http://192.0.2.1:8081,http://192.0.2.2:8082/, http://192.0.2.3";
    w->desc.client_id = "id";
    w->desc.client_secret = "secret";
}

SCRIPT(the_next_endpoint_serves_at_once_when_one_fails)
{
    static const dial_t kinds[] = { DIAL_REFUSE, DIAL_CLOSE, DIAL_BABBLE };
    for (size_t k = 0; k < COUNT(kinds); k++) {
        begin(w, ENSIGN_LINK_RPC, kinds[k], DIAL_ACCEPT);
        world_create(w);
        assert_int_equal(service_time_to_stream(w, service_subscribe(w)), 0);
        assert_string_equal(dialled, "123");
        world_again(w);
        begin(w, ENSIGN_LINK_AUTH, kinds[k], DIAL_ACCEPT);
        world_create(w);
        assert_int_equal(service_time_to_stream(w, service_subscribe(w)), 0);
        assert_string_equal(dialled, "123");
        assert_non_null(strstr(w->auth_head, "Host: 192.0.2.3\r\n"));
        world_again(w);
    }
    begin(w, ENSIGN_LINK_RPC, DIAL_ACCEPT, DIAL_ACCEPT);
    world_create(w);
}

/* Each endpoint has the whole of the time. */
SCRIPT(a_mute_endpoint_takes_its_time_and_no_more)
{
    static const dial_t kinds[] = { DIAL_MUTE, DIAL_SILENT };
    for (size_t k = 0; k < COUNT(kinds); k++) {
        begin(w, ENSIGN_LINK_RPC, kinds[k], DIAL_ACCEPT);
        world_create(w);
        assert_int_equal(service_time_to_stream(w, service_subscribe(w)), 2 * TIMEOUT);
        world_again(w);
    }
    begin(w, ENSIGN_LINK_RPC, DIAL_ACCEPT, DIAL_ACCEPT);
    world_create(w);
}

/* `endpoints` is the same as a list in `endpoint`. */
SCRIPT(an_array_of_endpoints_is_tried_in_its_order)
{
    static const char *const list[] = { "192.0.2.3:5353", "192.0.2.1:5351,192.0.2.2:5352" };
    begin(w, ENSIGN_LINK_RPC, DIAL_REFUSE, DIAL_REFUSE);
    answers[1] = DIAL_ACCEPT;
    w->desc.endpoint = NULL;
    w->desc.endpoints = list;
    w->desc.endpoint_count = COUNT(list);
    world_create(w);
    assert_int_equal(service_time_to_stream(w, service_subscribe(w)), 0);
    assert_string_equal(dialled, "312");
}

static void told(world_t *w, ensign_notice_type_t type, const char *endpoint, const char *address)
{
    const ensign_notice_t *n = world_await(w, ENSIGN_CLIENT, type);
    bool up = type == ENSIGN_NOTICE_CONNECTED;
    assert_string_equal(up ? n->as.connected.endpoint : n->as.disconnected.endpoint, endpoint);
    assert_string_equal(up ? n->as.connected.address : n->as.disconnected.address, address);
}

SCRIPT(a_failure_is_told_when_each_endpoint_has_failed)
{
    ensign_subscription_t s;
    begin(w, ENSIGN_LINK_RPC, DIAL_CLOSE, DIAL_CLOSE);
    world_create(w);
    s = service_subscribe(w);
    while (!world_pull_any(w, s.id)) world_advance(w, "WAITING");
    assert_string_equal(dialled, "123"); /* one round, no backoff in it */
    assert_int_equal(w->waits, 1);
    assert_non_null(strstr(w->waits_for.text, "192.0.2.3:5353"));
    told(w, ENSIGN_NOTICE_DISCONNECTED, "192.0.2.3:5353", "192.0.2.3");
    assert_int_equal(w->disconnected, 1);
    assert_true(ensi_target_waits(&w->client->rpc_target));
    answers[1] = DIAL_ACCEPT;
    told(w, ENSIGN_NOTICE_CONNECTED, "192.0.2.2:5352", "192.0.2.2");
    assert_string_equal(dialled, "12312"); /* nothing has worked yet: the order is that of the desc */
}

SCRIPT(the_endpoint_that_worked_last_comes_first)
{
    ensign_subscription_t s;
    begin(w, ENSIGN_LINK_RPC, DIAL_REFUSE, DIAL_ACCEPT);
    world_create(w);
    s = service_subscribe(w);
    service_time_to_stream(w, s);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    told(w, ENSIGN_NOTICE_DISCONNECTED, "192.0.2.3:5353", "192.0.2.3");
    world_stream(w, 1);
    assert_string_equal(dialled, "1233");
    answers[2] = DIAL_REFUSE;
    answers[1] = DIAL_ACCEPT;
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    world_stream(w, 2);
    assert_string_equal(dialled, "1233312");
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    world_stream(w, 3);
    assert_string_equal(dialled, "12333122");
}

/* A name that has no address is one endpoint of several. */
SCRIPT(a_name_without_an_address_is_passed_over)
{
    begin(w, ENSIGN_LINK_RPC, DIAL_ACCEPT, DIAL_ACCEPT);
    w->resolve_fails = true;
    w->desc.endpoint = "nowhere.example:1,192.0.2.2:5352";
    world_create(w);
    assert_int_equal(service_time_to_stream(w, service_subscribe(w)), 0);
    assert_string_equal(dialled, "2");
}

SCRIPT(authority_is_that_of_the_endpoint_in_use)
{
    ensign_subscription_t s;
    begin(w, ENSIGN_LINK_RPC, DIAL_ACCEPT, DIAL_ACCEPT);
    world_create(w);
    s = service_subscribe(w);
    service_time_to_stream(w, s);
    assert_string_equal(peer_field(world_stream(w, 0), ":authority"), "192.0.2.1:5351");
    answers[0] = DIAL_REFUSE;
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    assert_string_equal(peer_field(world_stream(w, 1), ":authority"), "192.0.2.2:5352");
    world_again(w);
    begin(w, ENSIGN_LINK_RPC, DIAL_REFUSE, DIAL_ACCEPT);
    w->desc.authority = "the.service";
    world_create(w);
    s = service_subscribe(w);
    assert_string_equal(peer_field(world_stream(w, 0), ":authority"), "the.service");
}

/* The port of a server that stops is closed before its streams have ended. */
SCRIPT(behind_a_goaway_the_next_endpoint_serves)
{
    ensign_call_desc_t d;
    ensign_call_t k;
    begin(w, ENSIGN_LINK_RPC, DIAL_ACCEPT, DIAL_ACCEPT);
    world_create(w);
    memset(&d, 0, sizeof d);
    d.method = "/a.B/C";
    d.unary = true;
    k = ensign_call_open(w->client, &d);
    world_stream(w, 0);
    answers[0] = DIAL_REFUSE;
    conn_goaway(w->conn[ENSIGN_LINK_RPC], 1, NGHTTP2_NO_ERROR, ensign_str("bye"));
    told(w, ENSIGN_NOTICE_CONNECTED, "192.0.2.1:5351", "192.0.2.1");
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_GOAWAY);
    told(w, ENSIGN_NOTICE_CONNECTED, "192.0.2.2:5352", "192.0.2.2");
    peer_open(w->streams[0]);
    peer_message(w->streams[0], "done", 4);
    peer_finish(w->streams[0], 0, NULL, NULL);
    assert_int_equal(world_reply(w, k.id, ENSIGN_GRPC_OK)->as.reply.message.len, 4);
    assert_string_equal(dialled, "112");
    assert_int_equal(w->disconnected, 0);
}

/* A call that does not wait for a server ends when the last endpoint has failed, and not before. */
SCRIPT(a_call_ends_unavailable_behind_the_last_endpoint)
{
    ensign_call_desc_t d;
    ensign_call_t k;
    begin(w, ENSIGN_LINK_RPC, DIAL_REFUSE, DIAL_REFUSE);
    world_create(w);
    memset(&d, 0, sizeof d);
    d.method = "/a.B/C";
    d.unary = true;
    k = ensign_call_open(w->client, &d);
    assert_non_null(strstr(world_reply(w, k.id, ENSIGN_GRPC_UNAVAILABLE)->error->text, "192.0.2.3:5353"));
    assert_string_equal(dialled, "123");
}

static void first_of_each_order(world_t *w, unsigned *orders)
{
    begin(w, ENSIGN_LINK_RPC, DIAL_REFUSE, DIAL_REFUSE);
    w->desc.shuffle_endpoints = true;
    world_create(w);
    world_settle(w);
    assert_int_equal(strlen(dialled), 3);
    for (size_t i = 0; i < 3; i++) assert_non_null(strchr(dialled, (char)('1' + i)));
    *orders |= 1u << ((dialled[0] - '1') * 3 + (dialled[1] - '1'));
}

/* Six orders of three. The same seed gives the same one. */
SCRIPT(the_seed_shuffles_the_endpoints)
{
    unsigned orders = 0;
    char first[256];
    for (uint64_t seed = 1; seed <= 60; seed++) {
        w->desc.seed = seed;
        first_of_each_order(w, &orders);
        snprintf(first, sizeof first, "%s", dialled);
        world_again(w);
        w->desc.seed = seed;
        first_of_each_order(w, &orders);
        assert_string_equal(first, dialled);
        world_again(w);
    }
    assert_int_equal(orders, 1u << 1 | 1u << 2 | 1u << 3 | 1u << 5 | 1u << 6 | 1u << 7);
    begin(w, ENSIGN_LINK_RPC, DIAL_ACCEPT, DIAL_ACCEPT);
    world_create(w);
}

/* One dead auth service does not stop renewals. */
SCRIPT(a_renewal_goes_to_the_next_auth_service)
{
    ensign_subscription_t s;
    begin(w, ENSIGN_LINK_AUTH, DIAL_ACCEPT, DIAL_ACCEPT);
    w->access_s = 100;
    w->overlap_s = 50;
    world_create(w);
    s = service_subscribe(w);
    service_time_to_stream(w, s);
    assert_non_null(strstr(w->auth_head, "Host: 192.0.2.1:8081\r\n"));
    answers[0] = DIAL_REFUSE;
    w->auth_head[0] = '\0';
    world_pass(w, 90000);
    assert_non_null(strstr(w->auth_head, "Host: 192.0.2.2:8082\r\n"));
    world_hear(w);
    assert_int_equal(w->waits, 0);
    assert_string_equal(dialled, "112");
}

/* The caller connects it; a token may go over it, as to this machine. */
SCRIPT(a_unix_socket_is_an_address_of_its_own_kind)
{
    ensign_link_t l;
    ensign_subscription_t s;
    w->desc.endpoint = "unix:/run/ensign.sock,localhost:5356";
    w->desc.token = "a-token-of-24-characters";
    world_create(w);
    s = service_subscribe(w);
    ensign_tick(w->client, w->now);
    ensign_link(w->client, ENSIGN_LINK_RPC, &l);
    assert_int_equal(l.todo, ENSIGN_LINK_DIAL);
    assert_int_equal(l.port, 0);
    assert_int_equal(l.address_count, 1);
    assert_string_equal(l.addresses[0], "unix:/run/ensign.sock");
    assert_string_equal(peer_field(world_stream(w, 0), ":authority"), "localhost");
    assert_string_equal(peer_field(world_stream(w, 0), "authorization"), "Bearer a-token-of-24-characters");
    told(w, ENSIGN_NOTICE_CONNECTED, "unix:/run/ensign.sock", "unix:/run/ensign.sock");
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    told(w, ENSIGN_NOTICE_DISCONNECTED, "unix:/run/ensign.sock", "unix:/run/ensign.sock");
    told(w, ENSIGN_NOTICE_DISCONNECTED, "localhost:5356", "");
    assert_non_null(strstr(w->last_error.text, "cannot connect to localhost:5356"));
    (void)s;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_MODES(the_next_endpoint_serves_at_once_when_one_fails),
        IN_MODES(a_mute_endpoint_takes_its_time_and_no_more),
        IN_MODES(an_array_of_endpoints_is_tried_in_its_order),
        IN_MODES(a_failure_is_told_when_each_endpoint_has_failed),
        IN_MODES(the_endpoint_that_worked_last_comes_first),
        IN_MODES(a_name_without_an_address_is_passed_over),
        IN_MODES(authority_is_that_of_the_endpoint_in_use),
        IN_MODES(behind_a_goaway_the_next_endpoint_serves),
        IN_MODES(a_call_ends_unavailable_behind_the_last_endpoint),
        IN_MODES(the_seed_shuffles_the_endpoints),
        IN_MODES(a_renewal_goes_to_the_next_auth_service),
        IN_MODES(a_unix_socket_is_an_address_of_its_own_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
