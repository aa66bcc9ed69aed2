/* group_kills.c - consumer groups of the development server over kills of it: what was acked does not come
 * again, all else does */
#include "groups.h"

static void a_kill_loses_nothing_and_repeats_no_ack(void **state)
{
    enum { COUNT = 120, ACKED = 77 };
    member_t m = join("killed", "shared");
    bool acked[COUNT] = { false };
    got_t g;
    (void)state;

    publish("shared", 0, COUNT);
    for (int i = 0; i < ACKED; i++) {
        g = get(&m);
        if (g.number % 5 == 2) continue;
        acked[g.number] = true;
        ack(&m, &g);
        if (i % MAX_UNACKED == MAX_UNACKED - 1 || i == ACKED - 1) break;
    }
    for (int turn = 0; turn < 5; turn++) {
        int left = COUNT;
        for (int i = 0; i < COUNT; i++) left -= acked[i];
        lag_becomes("killed", "shared", (uint64_t)left);
        stands("killed", "shared");     /* what was known then is stored before this is answered */
        stop_server(SIGKILL);
        start_server();
        m = join("killed", "shared");
        for (int i = 0; i < MAX_UNACKED && left - i > 0; i++) {
            g = get(&m);
            assert_false(acked[g.number]);
            if (i == 0 && turn < 4) continue;       /* it stays out, and comes again behind the kill */
            acked[g.number] = true;
            ack(&m, &g);
        }
    }
    for (;;) {
        int left = COUNT;
        for (int i = 0; i < COUNT; i++) left -= acked[i];
        if (left == 0) break;
        g = get(&m);
        assert_false(acked[g.number]);
        acked[g.number] = true;
        ack(&m, &g);
    }
    assert_int_equal(lag_becomes("killed", "shared", 0).redeliveries, 0);
    leave(&m);
    members_become("killed", 0);
    remove_group("killed");
}

/* The member has it from before the kill: its ack comes before the server has read the event again. */
static void an_ack_counts_behind_a_kill(void **state)
{
    member_t m = join("later", "shared");
    got_t g, other;
    (void)state;

    publish("shared", 1, 1);
    g = get(&m);
    stop_server(SIGKILL);
    start_server();
    m = join("later", "shared");
    ack(&m, &g);
    lag_becomes("later", "shared", 0);
    publish("shared", 2, 1);
    do {
        other = get(&m);
        ack(&m, &other);
    } while (other.number != 2);
    leave(&m);
    members_become("later", 0);
    remove_group("later");
}

static void at_most_once_stays_done(void **state)
{
    wish_t w = wish("once", "shared");
    member_t m;
    (void)state;

    w.delivery = 1;
    m = join_as(ALL, w);
    for (int i = 0; i < 5; i++) {
        publish("shared", i, 1);
        assert_int_equal(get(&m).number, i);
        stop_server(SIGKILL);           /* it was stored as done before it was handed over */
        start_server();
        m = join_as(ALL, w);
    }
    leave(&m);
    members_become("once", 0);
    remove_group("once");
}

/* What a dead letter needs is asked for again by the next server, and published once. */
static void a_dead_letter_is_there_once(void **state)
{
    enum { COUNT = 10 };
    wish_t w = wish("undertakers", "poison-dead");
    bool seen[COUNT] = { false };
    member_t m;
    (void)state;

    make_topic("poison");
    m = join("victims", "poison");
    publish("poison", 0, COUNT);
    for (int i = 0; i < COUNT * MAX_DELIVER; i++) {
        got_t g = get(&m);
        nack(&m, &g, ENSIGN_NACK_UNPROCESSED);
        if (i % 4 != 3) continue;
        stop_server(SIGKILL);
        start_server();
        m = join("victims", "poison");
        if (stands("victims", "poison").lag == 0) break;
    }
    while (stands("victims", "poison").lag) {
        const ensign_notice_t *n = ensign_next_of(clients[ALL], m.call.id);
        got_t g;
        ensign_wait(clients[ALL], NULL, 0, 0);
        if (!n || n->type == ENSIGN_NOTICE_HEADERS || n->type == ENSIGN_NOTICE_ROOM) continue;
        read_event(n, &g);
        nack(&m, &g, ENSIGN_NACK_UNPROCESSED);
    }
    w.from = 0;
    leave(&m);
    m = join_as(ALL, w);
    for (int i = 0; i < COUNT; i++) {
        got_t g = get(&m);
        assert_false(seen[g.number]);
        seen[g.number] = true;
        ack(&m, &g);
    }
    lag_becomes("undertakers", "poison-dead", 0);
    leave(&m);
}

static void places_and_settings_are_kept(void **state)
{
    wish_t w = wish("kept", "poison");
    ensi_pb_group_t g;
    member_t m;
    (void)state;

    w.delivery = 1;
    w.timeout_ms = 1500;
    w.from = 0;
    m = join_as(ALL, w);
    for (int i = 0; i < 10; i++) get(&m);
    leave(&m);
    members_become("kept", 0);
    assert_int_equal(change(ALL, "Reset", "kept", ENSI_PB_RESET_GROUP_REQUEST_POSITION_BEGINNING, 0, NULL),
                     ENSIGN_GRPC_OK);
    stop_server(SIGKILL);
    start_server();
    assert_int_equal(stands("kept", "poison").lag, 10);
    assert_int_equal(get_group(ALL, "kept", &g), ENSIGN_GRPC_OK);
    assert_int_equal(g.delivery, 1);
    assert_int_equal(g.ack_wait.seconds, 1);
    assert_int_equal(g.ack_wait.nanos, 500000000);
    remove_group("kept");
    stop_server(SIGKILL);
    start_server();
    assert_int_equal(get_group(ALL, "kept", &g), ENSIGN_GRPC_NOT_FOUND);
}

static void a_query_is_kept(void **state)
{
    enum { COUNT = 40 };
    wish_t w = wish("asking", "shared"), other = w;
    member_t m;
    got_t g;
    (void)state;

    w.query = "SELECT * FROM shared WHERE @data LIKE '%7'";
    other.query = "SELECT * FROM shared WHERE @data LIKE '%8'";
    m = join_as(ALL, w);
    publish("shared", 0, COUNT);
    g = get(&m);
    assert_int_equal(g.number, 7);
    ack(&m, &g);
    lag_becomes("asking", "shared", 3); /* 17, 27, 37; all others were looked at */
    stands("asking", "shared");         /* what was known then is stored before this is answered */
    for (int left = 3; left > 0; left--) {
        stop_server(SIGKILL);
        start_server();
        if (try_join(&m, ALL, other)) fail_msg("another query was taken");
        assert_int_equal(answer.status, ENSIGN_GRPC_FAILED_PRECONDITION);
        assert_non_null(strstr(answer.text, w.query));
        assert_non_null(strstr(answer.text, other.query));
        m = join_as(ALL, w);
        g = get(&m);
        assert_int_equal(g.number, COUNT - 10 * left + 7);
        ack(&m, &g);
        lag_becomes("asking", "shared", (uint64_t)left - 1);
        stands("asking", "shared");
    }
    leave(&m);
    members_become("asking", 0);
    remove_group("asking");
}

static int set_up_kept(void **state)
{
    kept = true;
    if (set_up(state) != 0) return -1;
    make_topic("shared");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kill_loses_nothing_and_repeats_no_ack),
        cmocka_unit_test(an_ack_counts_behind_a_kill),
        cmocka_unit_test(at_most_once_stays_done),
        cmocka_unit_test(a_dead_letter_is_there_once),
        cmocka_unit_test(places_and_settings_are_kept),
        cmocka_unit_test(a_query_is_kept),
    };
    return cmocka_run_group_tests(tests, set_up_kept, tear_down);
}
