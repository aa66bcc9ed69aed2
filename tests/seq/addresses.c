/* A server of several addresses: one that takes the connection, and then fails or stays mute, is left for the
 * next one, at once and without a word; a failure is told when each of them has failed. */
#include "dials.h"

static const char *const addresses[DIALS_MOST] = { "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4",
                                                  "192.0.2.5", "192.0.2.6", "192.0.2.7", "192.0.2.8" };

/* A client of a server with `count` addresses: the last one answers `last`, the others `others`. */
static void begin(world_t *w, int link, size_t count, dial_t others, dial_t last)
{
    dials_begin(w, link, count, others, last);
    w->addresses = addresses;
    w->address_count = count;
    w->desc.endpoint = "rpc.example:5356";
    if (link == ENSIGN_LINK_AUTH) {
        w->desc.allow_plaintext_token = true;
        w->desc.auth_url = "http://auth.example:8088";
        w->desc.client_id = "id";
        w->desc.client_secret = "secret";
    }
    world_create(w);
}

static const int links[] = { ENSIGN_LINK_RPC, ENSIGN_LINK_AUTH };
static const dial_t failures[] = { DIAL_REFUSE, DIAL_SILENT, DIAL_CLOSE, DIAL_BABBLE };

/* For each link, and each way to fail: a world of its own. */
static void each(world_t *w, size_t kinds, const dial_t *kind, void (*run)(world_t *, int link, dial_t kind))
{
    for (size_t l = 0; l < COUNT(links); l++)
        for (size_t k = 0; k < kinds; k++) {
            run(w, links[l], kind[k]);
            world_again(w);
        }
}

static void second_at_once(world_t *w, int link, dial_t kind)
{
    begin(w, link, 2, kind, DIAL_ACCEPT);
    assert_int_equal(service_time_to_stream(w, service_subscribe(w)), 0);
    assert_string_equal(dialled, "12");
}

SCRIPT(the_second_address_serves_at_once_when_the_first_fails)
{
    each(w, COUNT(failures), failures, second_at_once);
}

static void second_in_time(world_t *w, int link, dial_t kind)
{
    begin(w, link, 2, kind, DIAL_ACCEPT);
    assert_true(service_time_to_stream(w, service_subscribe(w)) < TIMEOUT / 2);
    assert_string_equal(dialled, "12");
}

SCRIPT(the_second_address_serves_within_half_of_the_time_when_the_first_is_mute)
{
    static const dial_t mute = DIAL_MUTE;
    each(w, 1, &mute, second_in_time);
}

static void last_in_time(world_t *w, int link, dial_t kind)
{
    begin(w, link, DIALS_MOST, kind, DIAL_ACCEPT);
    assert_true(service_time_to_stream(w, service_subscribe(w)) < TIMEOUT);
}

SCRIPT(the_last_of_eight_addresses_has_its_turn)
{
    static const dial_t kinds[] = { DIAL_REFUSE, DIAL_SILENT, DIAL_CLOSE, DIAL_BABBLE, DIAL_MUTE };
    each(w, COUNT(kinds), kinds, last_in_time);
}

static void all_fail(world_t *w, int link, dial_t kind)
{
    ensign_subscription_t s;
    begin(w, link, 3, kind, kind);
    s = service_subscribe(w);
    while (w->waits == 0) {
        world_advance(w, "WAITING");
        world_pull(w, s.id);
    }
    assert_string_equal(dialled, "123"); /* each once, in one round */
    world_hear(w);
    assert_int_equal(w->disconnected, link == ENSIGN_LINK_RPC ? 1 : 0);
    if (kind == DIAL_BABBLE)
        assert_non_null(strstr(w->waits_for.text, link == ENSIGN_LINK_RPC ? "is this the port of a gRPC server?"
                                                                          : "does not answer in HTTP/1.1"));
    for (size_t i = 0; i < 3; i++) answers[i] = DIAL_ACCEPT;
    world_stream(w, 0);
}

SCRIPT(a_failure_is_told_when_each_address_has_failed)
{
    static const dial_t kinds[] = { DIAL_CLOSE, DIAL_BABBLE, DIAL_MUTE };
    each(w, COUNT(kinds), kinds, all_fail);
}

/* The address that served is the first one of the next connection; one that has only taken TCP is not. */
SCRIPT(what_served_goes_first_the_next_time)
{
    ensign_subscription_t s;
    begin(w, ENSIGN_LINK_RPC, 3, DIAL_CLOSE, DIAL_ACCEPT);
    s = service_subscribe(w);
    service_time_to_stream(w, s);
    assert_string_equal(dialled, "123");
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    world_stream(w, 1);
    assert_string_equal(dialled, "1233");
    answers[2] = DIAL_CLOSE;
    answers[1] = DIAL_ACCEPT;
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    world_stream(w, 2);
    assert_string_equal(dialled, "1233312");
}

static void unlike(world_t *w, int link, dial_t kind)
{
    static const dial_t mixed[DIALS_MOST] = { DIAL_MUTE, DIAL_SILENT, DIAL_BABBLE, DIAL_REFUSE,
                                        DIAL_CLOSE, DIAL_MUTE, DIAL_SILENT, DIAL_ACCEPT };
    begin(w, link, DIALS_MOST, kind, DIAL_ACCEPT);
    memcpy(answers, mixed, sizeof mixed);
    assert_true(service_time_to_stream(w, service_subscribe(w)) < TIMEOUT);
}

SCRIPT(each_address_may_fail_in_its_own_way)
{
    static const dial_t any = DIAL_MUTE;
    each(w, 1, &any, unlike);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_MODES(the_second_address_serves_at_once_when_the_first_fails),
        IN_MODES(the_second_address_serves_within_half_of_the_time_when_the_first_is_mute),
        IN_MODES(the_last_of_eight_addresses_has_its_turn),
        IN_MODES(a_failure_is_told_when_each_address_has_failed),
        IN_MODES(what_served_goes_first_the_next_time),
        IN_MODES(each_address_may_fail_in_its_own_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
