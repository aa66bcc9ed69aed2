/* groups.c - consumer groups of the development server over sockets: who gets what, what comes again, what is
 * dead, what is refused; and its service Groups */
#include "groups.h"
#include <fcntl.h>
#include <poll.h>

static void each_event_goes_to_one_of_four_members(void **state)
{
    member_t m[MEMBERS];
    int got[MEMBERS] = { 0 };
    bool seen[MOST] = { false };
    size_t from;
    row_t r;
    (void)state;

    make_topic("shared");
    for (int i = 0; i < MEMBERS; i++) m[i] = join("four", "shared");
    publish("shared", 0, MOST);
    for (int i = 0; i < MOST; i++) {
        got_t g = get_any(m, MEMBERS, &from);
        assert_false(seen[g.number]);
        seen[g.number] = true;
        got[from]++;
        ack(&m[from], &g);
    }
    for (int i = 0; i < MEMBERS; i++) assert_true(got[i] > 0);
    r = lag_becomes("four", "shared", 0);
    assert_int_equal(r.members, MEMBERS);
    assert_int_equal(r.pending + r.redeliveries + r.dead_letters, 0);
    for (int i = 0; i < MEMBERS; i++) leave(&m[i]);
    members_become("four", 0);
    remove_group("four");
}

static void a_member_has_so_many_without_an_ack(void **state)
{
    member_t m;
    got_t g, last;
    row_t r;
    (void)state;

    make_topic("window");
    m = join("window", "window");
    publish("window", 0, 3 * MAX_UNACKED);
    for (int i = 0; i < MAX_UNACKED; i++) {
        last = get(&m);
        assert_int_equal(last.number, i);
        if (i == 0) g = last;
    }
    r = stands("window", "window");
    assert_int_equal(r.pending, MAX_UNACKED);
    assert_int_equal(r.lag, 3 * MAX_UNACKED);
    ack(&m, &g);
    g = get(&m);
    assert_int_equal(g.number, MAX_UNACKED);
    assert_int_equal(stands("window", "window").pending, MAX_UNACKED);
    leave(&m);
    members_become("window", 0);
    remove_group("window");
}

/* What it had goes to the others, and does not count as a failed delivery. */
static void members_come_and_go(void **state)
{
    member_t m = join("come", "shared"), other;
    (void)state;

    publish("shared", 0, MAX_UNACKED);
    for (int round = 0; round < 2 * MAX_DELIVER; round++) {
        for (int i = 0; i < MAX_UNACKED; i++) assert_int_equal(get(&m).number, i);
        other = join("come", "shared");
        leave(&m);
        m = other;
    }
    for (int i = 0; i < MAX_UNACKED; i++) {
        got_t g = get(&m);
        assert_int_equal(g.number, i);
        ack(&m, &g);
    }
    assert_int_equal(lag_becomes("come", "shared", 0).dead_letters, 0);
    leave(&m);
    members_become("come", 0);
    remove_group("come");
}

static void a_nacked_event_comes_again(void **state)
{
    static const int32_t codes[] = { ENSIGN_NACK_UNKNOWN, ENSIGN_NACK_UNPROCESSED, ENSIGN_NACK_TIMEOUT,
                                     ENSIGN_NACK_DELIVER_AGAIN_ANY, ENSIGN_NACK_UNHANDLED_MIMETYPE,
                                     ENSIGN_NACK_UNKNOWN_TYPE, ENSIGN_NACK_DELIVER_AGAIN_NOT_ME, 4711, -1 };
    member_t m = join("alone", "shared");
    (void)state;

    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        got_t g, again;
        publish("shared", (int)i, 1);
        g = get(&m);
        nack(&m, &g, codes[i]);
        again = get(&m);                /* it is the only member */
        assert_memory_equal(g.id, again.id, sizeof g.id);
        ack(&m, &again);
    }
    assert_int_equal(lag_becomes("alone", "shared", 0).redeliveries, sizeof codes / sizeof codes[0]);
    leave(&m);
    members_become("alone", 0);
    remove_group("alone");
}

static void three_codes_send_it_to_another_member(void **state)
{
    static const int32_t codes[] = { ENSIGN_NACK_UNHANDLED_MIMETYPE, ENSIGN_NACK_UNKNOWN_TYPE,
                                     ENSIGN_NACK_DELIVER_AGAIN_NOT_ME };
    member_t m[2];
    (void)state;

    m[0] = join("two", "shared");
    m[1] = join("two", "shared");
    for (int i = 0; i < 12; i++) {
        size_t first, then;
        got_t g, again;
        publish("shared", i, 1);
        g = get_any(m, 2, &first);
        nack(&m[first], &g, codes[i % 3]);
        again = get_any(m, 2, &then);
        assert_memory_equal(g.id, again.id, sizeof g.id);
        assert_int_equal(then, 1 - first);
        ack(&m[then], &again);
    }
    leave(&m[0]);
    leave(&m[1]);
    members_become("two", 0);
    remove_group("two");
}

static void without_an_ack_it_comes_again(void **state)
{
    wish_t w = wish("slow", "shared");
    member_t m;
    got_t g, again;
    (void)state;

    w.timeout_ms = 50;
    m = join_as(ALL, w);
    publish("shared", 7, 1);
    g = get(&m);
    again = get(&m);
    assert_memory_equal(g.id, again.id, sizeof g.id);
    ack(&m, &g);
    lag_becomes("slow", "shared", 0);
    leave(&m);
    members_become("slow", 0);
    remove_group("slow");
}

static void an_ack_counts_from_any_member(void **state)
{
    member_t a = join("any", "shared"), b;
    got_t g;
    (void)state;

    publish("shared", 1, 1);
    g = get(&a);
    b = join("any", "shared");
    ack(&b, &g);                        /* it is out at the other one */
    lag_becomes("any", "shared", 0);
    leave(&b);
    publish("shared", 2, 1);
    g = get(&a);
    leave(&a);
    members_become("any", 0);
    a = join("any", "shared");          /* as the program that has it, behind a break of its connection */
    ack(&a, &g);
    lag_becomes("any", "shared", 0);
    publish("shared", 3, 1);
    do {
        g = get(&a);                    /* 2 may have come again before its ack was there */
        ack(&a, &g);
    } while (g.number != 3);
    leave(&a);
    members_become("any", 0);
    remove_group("any");
}

static bool has_pair(const got_t *g, const char *key, const char *value)
{
    ensi_pb_event_metadata_entry_t pair;
    ensi_pb_event_t e;
    ensign_slice_t item;
    size_t at = 0;

    assert_true(ensi_pb_decode(ensi_pb_event_fields, &e, g->event, g->len));
    while (ensi_pb_span_next(e.metadata, ENSI_PB_EVENT_METADATA_TAG, &at, &item))
        if (ensi_pb_decode(ensi_pb_event_metadata_entry_fields, &pair, item.ptr, item.len) &&
            is(pair.key, key))
            return value == NULL || is(pair.value, value);
    return false;
}

static void a_poisoned_event_becomes_a_dead_letter(void **state)
{
    member_t m, reader, all;
    wish_t w = wish("undertakers", "poison-dead");
    got_t g;
    char offset[24];
    (void)state;

    make_topic("poison");
    m = join_as(SUBSCRIBER, wish("victims", "poison"));         /* a key that may make no topics */
    publish("poison", 13, 2);
    for (int i = 0; i < MAX_DELIVER; i++) {
        do {
            g = get(&m);
            if (g.number == 14) ack(&m, &g);
        } while (g.number == 14);
        snprintf(offset, sizeof offset, "%llu", (unsigned long long)g.offset);
        nack(&m, &g, ENSIGN_NACK_UNKNOWN_TYPE);
    }
    assert_int_equal(lag_becomes("victims", "poison", 0).dead_letters, 1);
    assert_true(topic_exists("poison-dead"));

    w.from = 0;
    reader = join_as(ALL, w);
    for (int i = 0; i < 2 * MAX_DELIVER; i++) {                 /* never dead itself */
        g = get(&reader);
        assert_int_equal(g.number, 13);
        assert_true(has_pair(&g, "ensignd-dead-reason", "UNKNOWN_TYPE"));
        assert_true(has_pair(&g, "ensignd-dead-deliveries", "3"));
        assert_true(has_pair(&g, "ensignd-dead-topic", "poison"));
        assert_true(has_pair(&g, "ensignd-dead-offset", offset));
        assert_true(has_pair(&g, "ensignd-dead-group", "victims"));
        if (i + 1 < 2 * MAX_DELIVER) nack(&reader, &g, ENSIGN_NACK_UNPROCESSED);
        else ack(&reader, &g);
    }
    assert_int_equal(lag_becomes("undertakers", "poison-dead", 0).dead_letters, 0);
    assert_false(topic_exists("poison-dead-dead"));

    all = join("everything", NULL);
    publish("poison", 2, 1);
    assert_int_equal(get(&all).number, 2);
    assert_int_equal(all.topics, 3);    /* shared, window, poison */
    leave(&m);
    leave(&reader);
    leave(&all);
}

static void at_most_once_is_done_when_it_is_handed_over(void **state)
{
    wish_t w = wish("once", "shared");
    member_t m;
    (void)state;

    w.delivery = 1;
    m = join_as(ALL, w);
    publish("shared", 0, 3 * MAX_UNACKED);
    for (int i = 0; i < 3 * MAX_UNACKED; i++) assert_int_equal(get(&m).number, i);      /* without acks */
    lag_becomes("once", "shared", 0);
    leave(&m);
    m = join_as(ALL, w);
    publish("shared", 100, 1);
    assert_int_equal(get(&m).number, 100);
    leave(&m);
    members_become("once", 0);
    remove_group("once");
}

static void refused(wish_t w, int status, const char *words)
{
    member_t m;

    if (try_join(&m, ALL, w)) fail_msg("it was taken");
    assert_int_equal(answer.status, status);
    if (!strstr(answer.text, words)) fail_msg("\"%s\" is not in: %s", words, answer.text);
}

static void what_a_group_cannot_do_is_refused(void **state)
{
    wish_t w = wish("strange", "shared");
    member_t m;
    char name[16];
    (void)state;

    w.delivery = 3;
    refused(w, ENSIGN_GRPC_INVALID_ARGUMENT, "EXACTLY_ONCE");
    w.delivery = 4;
    refused(w, ENSIGN_GRPC_INVALID_ARGUMENT, "AT_LEAST_ONCE");
    w = wish("strange", "shared");
    w.timeout_ms = -1000;
    refused(w, ENSIGN_GRPC_INVALID_ARGUMENT, "24 hours");
    w.timeout_ms = 86400001;
    refused(w, ENSIGN_GRPC_INVALID_ARGUMENT, "24 hours");
    w = wish("strange", "shared");
    w.query = "SELECT * FROM shared LIMIT 5";
    refused(w, ENSIGN_GRPC_INVALID_ARGUMENT, "leave LIMIT out");
    w.query = "SELECT n FROM shared";
    refused(w, ENSIGN_GRPC_INVALID_ARGUMENT, "write SELECT *");
    w.query = "SELECT * FROM window";
    refused(w, ENSIGN_GRPC_INVALID_ARGUMENT, "not one of the subscription's topics");
    w.query = "SELECT * FROM shared WHERE";
    refused(w, ENSIGN_GRPC_INVALID_ARGUMENT, "position");
    assert_int_equal(get_group(READER, "strange", NULL), ENSIGN_GRPC_NOT_FOUND);

    w = wish("settled", "shared");
    w.timeout_ms = 4000;
    m = join_as(ALL, w);
    w.timeout_ms = 5000;
    refused(w, ENSIGN_GRPC_FAILED_PRECONDITION, "4000");
    refused(w, ENSIGN_GRPC_FAILED_PRECONDITION, "5000");
    w.timeout_ms = 0;
    w.delivery = 1;
    refused(w, ENSIGN_GRPC_FAILED_PRECONDITION, "AT_LEAST_ONCE");
    refused(w, ENSIGN_GRPC_FAILED_PRECONDITION, "AT_MOST_ONCE");
    w.delivery = 2;                     /* UNSPECIFIED is this one */
    leave(&m);
    m = join_as(ALL, w);
    leave(&m);
    members_become("settled", 0);
    remove_group("settled");

    for (int i = 0;; i++) {
        snprintf(name, sizeof name, "many%d", i);
        if (!try_join(&m, ALL, wish(name, "shared"))) break;
        leave(&m);
        assert_true(i < MAX_GROUPS);
    }
    assert_int_equal(answer.status, ENSIGN_GRPC_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(answer.text, "20 groups"));
    for (int i = 0; i < MAX_GROUPS; i++) {
        snprintf(name, sizeof name, "many%d", i);
        while (change(ALL, "Remove", name, 0, 0, NULL) == ENSIGN_GRPC_FAILED_PRECONDITION) {}
    }
}

static void a_group_has_an_id_of_16_bytes(void **state)
{
    wish_t w = wish(NULL, "shared");
    member_t a, b;
    ensi_pb_group_t g;
    (void)state;

    w.id = "sixteen bytes id";
    a = join_as(ALL, w);
    w.name = "its name";
    b = join_as(ALL, w);                /* the same group */
    w.id = "another length";
    w.name = NULL;
    leave(&b);
    b = join_as(ALL, w);
    w.name = "ignored";
    leave(&b);
    b = join_as(ALL, w);
    members_become("another length", 1);        /* the hash of the id is that of the name */
    leave(&a);
    leave(&b);
    members_become("another length", 0);
    remove_group("another length");
    {
        ensi_pb_group_request_t r = by_name("");
        r.id = text("sixteen bytes id");
        assert_int_equal(call(READER, GROUPS "Get", ensi_pb_group_request_fields, &r), ENSIGN_GRPC_OK);
        assert_true(ensi_pb_decode(ensi_pb_group_fields, &g, answer.bytes, answer.len));
        assert_true(is(g.id, "sixteen bytes id") && is(g.name, ""));
        while (call(ALL, GROUPS "Remove", ensi_pb_group_request_fields, &r) != ENSIGN_GRPC_OK)
            assert_int_equal(answer.status, ENSIGN_GRPC_FAILED_PRECONDITION);
    }
}

static void a_new_group_begins_live_or_where_it_says(void **state)
{
    wish_t w = wish("from", "begin");
    member_t m;
    got_t first;
    (void)state;

    make_topic("begin");
    publish("begin", 0, 3);
    w.from = 0;
    m = join_as(ALL, w);
    first = get(&m);
    assert_int_equal(first.number, 0);
    leave(&m);
    members_become("from", 0);
    w.from = 1000000;                   /* it is no new group any more */
    m = join_as(ALL, w);
    assert_int_equal(get(&m).number, 0);
    leave(&m);
    members_become("from", 0);
    remove_group("from");
    w.from = (int64_t)first.offset;
    m = join_as(ALL, w);
    assert_int_equal(get(&m).number, 1);
    leave(&m);
    members_become("from", 0);
    remove_group("from");
    m = join("from", "begin");
    publish("begin", 3, 1);
    assert_int_equal(get(&m).number, 3);
    leave(&m);
    members_become("from", 0);
    remove_group("from");
}

static void a_group_is_reset_and_removed(void **state)
{
    member_t m = join("reset", "begin");
    got_t got[4];
    ensi_pb_group_t g;
    (void)state;

    publish("begin", 10, 4);
    for (int i = 0; i < 4; i++) {
        got[i] = get(&m);
        ack(&m, &got[i]);
    }
    lag_becomes("reset", "begin", 0);
    assert_int_equal(change(ALL, "Reset", "reset", 1, 0, NULL), ENSIGN_GRPC_FAILED_PRECONDITION);
    assert_int_equal(change(ALL, "Remove", "reset", 0, 0, NULL), ENSIGN_GRPC_FAILED_PRECONDITION);
    leave(&m);
    members_become("reset", 0);
    assert_int_equal(change(READER, "Reset", "reset", 1, 0, NULL), ENSIGN_GRPC_PERMISSION_DENIED);
    assert_int_equal(change(READER, "Remove", "reset", 0, 0, NULL), ENSIGN_GRPC_PERMISSION_DENIED);
    assert_int_equal(get_group(SUBSCRIBER, "reset", &g), ENSIGN_GRPC_PERMISSION_DENIED);
    assert_int_equal(change(ALL, "Reset", "reset", 0, 0, NULL), ENSIGN_GRPC_INVALID_ARGUMENT);
    assert_int_equal(change(ALL, "Reset", "reset", 4, 0, NULL), ENSIGN_GRPC_INVALID_ARGUMENT);  /* no time */
    assert_int_equal(change(ALL, "Reset", "reset", 1, 0, "no-such-topic"), ENSIGN_GRPC_NOT_FOUND);
    assert_int_equal(change(ALL, "Reset", "no such group", 1, 0, NULL), ENSIGN_GRPC_NOT_FOUND);
    assert_int_equal(change(ALL, "Reset", "", 1, 0, NULL), ENSIGN_GRPC_INVALID_ARGUMENT);

    assert_int_equal(change(ALL, "Reset", "reset", 3, got[2].offset, "begin"), ENSIGN_GRPC_OK);
    assert_int_equal(stands("reset", "begin").lag, 2);
    m = join("reset", "begin");
    assert_int_equal(get(&m).number, 12);
    leave(&m);
    members_become("reset", 0);
    assert_int_equal(change(ALL, "Reset", "reset", 1, 0, NULL), ENSIGN_GRPC_OK);
    m = join("reset", "begin");
    assert_int_equal(get(&m).number, 0);
    leave(&m);
    members_become("reset", 0);
    assert_int_equal(change(ALL, "Reset", "reset", 2, 0, NULL), ENSIGN_GRPC_OK);
    assert_int_equal(stands("reset", "begin").lag, 0);
    remove_group("reset");
    assert_int_equal(get_group(READER, "reset", &g), ENSIGN_GRPC_NOT_FOUND);
    m = join("reset", "begin");         /* a new one: it begins live */
    publish("begin", 20, 1);
    assert_int_equal(get(&m).number, 20);
    leave(&m);
}

static void a_time_finds_its_event(void **state)
{
    ensi_pb_reset_group_request_t r;
    wish_t w = wish("time", "begin");
    member_t m = join_as(ALL, w);
    got_t g;
    (void)state;

    publish("begin", 30, 1);
    g = get(&m);
    leave(&m);
    members_become("time", 0);
    memset(&r, 0, sizeof r);
    r.has_group = r.has_time = true;
    r.group = by_name("time");
    r.to = ENSI_PB_RESET_GROUP_REQUEST_POSITION_TIME;
    assert_int_equal(call(ALL, GROUPS "Reset", ensi_pb_reset_group_request_fields, &r), ENSIGN_GRPC_OK);
    m = join_as(ALL, w);
    assert_int_equal(get(&m).number, 0);        /* 1970 */
    leave(&m);
    members_become("time", 0);
    for (int i = 0; i < 6; i++) r.time.seconds = r.time.seconds << 8 | g.id[i];        /* ms */
    r.time.nanos = (int32_t)(r.time.seconds % 1000 * 1000000);
    r.time.seconds /= 1000;
    assert_int_equal(call(ALL, GROUPS "Reset", ensi_pb_reset_group_request_fields, &r), ENSIGN_GRPC_OK);
    m = join_as(ALL, w);
    assert_true(get(&m).offset <= g.offset);    /* another one may have the same ms */
    leave(&m);
    members_become("time", 0);
    r.time.seconds += 1000000;
    assert_int_equal(call(ALL, GROUPS "Reset", ensi_pb_reset_group_request_fields, &r), ENSIGN_GRPC_OK);
    assert_int_equal(stands("time", "begin").lag, 0);
    remove_group("time");
}

/* More events stand behind the time than one read of the log gives. */
static void a_time_far_back_is_answered(void **state)
{
    ensi_pb_reset_group_request_t r;
    member_t m;
    (void)state;

    make_topic("far");
    m = join("far", "far");
    publish("far", 0, 2500);
    leave(&m);
    members_become("far", 0);
    memset(&r, 0, sizeof r);
    r.has_group = r.has_time = true;
    r.group = by_name("far");
    r.to = ENSI_PB_RESET_GROUP_REQUEST_POSITION_TIME;
    assert_int_equal(call(ALL, GROUPS "Reset", ensi_pb_reset_group_request_fields, &r), ENSIGN_GRPC_OK);
    assert_int_equal(stands("far", "far").lag, 2500);
    remove_group("far");
}

static size_t count_places(const char *group)
{
    ensi_pb_group_t g;
    ensign_slice_t item;
    size_t at = 0, n = 0;

    assert_int_equal(get_group(ALL, group, &g), ENSIGN_GRPC_OK);
    while (ensi_pb_span_next(g.topics, ENSI_PB_GROUP_TOPICS_TAG, &at, &item)) n++;
    return n;
}

static void destroy_topic(const char *name)
{
    const ensign_notice_t *n = next(clients[ALL], ensign_topic_by_name(clients[ALL], name, NULL).id);
    ensign_ulid_t id;

    assert_int_equal(n->type, ENSIGN_NOTICE_TOPIC);
    id = n->as.topic->id;
    ensign_forget(clients[ALL], n->handle);
    n = next(clients[ALL], ensign_topic_destroy(clients[ALL], id, NULL).id);
    assert_int_equal(n->type, ENSIGN_NOTICE_TOPIC_STATE);
    ensign_forget(clients[ALL], n->handle);
}

static void a_query_chooses_the_events_of_a_group(void **state)
{
    enum { COUNT = 60, CHOSEN = 14 };
    wish_t w = wish("chosen", "chosen"), other = w;
    member_t m[2];
    bool seen[COUNT] = { false };
    size_t from;
    (void)state;

    make_topic("chosen");
    w.query = "SELECT * FROM chosen WHERE @data IN ('3', '17', '21') OR @data LIKE '4%'";
    w.other = "shared";                 /* the query leaves it out */
    m[0] = join_as(ALL, w);
    m[1] = join_as(ALL, w);
    assert_int_equal(m[0].topics, 1);
    refused(other, ENSIGN_GRPC_FAILED_PRECONDITION, "@data IN");
    refused(other, ENSIGN_GRPC_FAILED_PRECONDITION, "no query");
    other.query = "SELECT * FROM chosen WHERE @data = '5'";
    refused(other, ENSIGN_GRPC_FAILED_PRECONDITION, "@data IN");
    refused(other, ENSIGN_GRPC_FAILED_PRECONDITION, other.query);
    publish("shared", 3, 1);
    publish("chosen", 0, COUNT);
    for (int i = 0; i < CHOSEN; i++) {
        got_t g = get_any(m, 2, &from);
        assert_true(g.number == 3 || g.number == 17 || g.number == 21 || g.number == 4 || g.number / 10 == 4);
        assert_false(seen[g.number]);
        seen[g.number] = true;
        ack(&m[from], &g);
    }
    assert_int_equal(lag_becomes("chosen", "chosen", 0).redeliveries, 0);
    leave(&m[0]);
    leave(&m[1]);
    members_become("chosen", 0);
    assert_int_equal(change(ALL, "Reset", "chosen", 1, 0, NULL), ENSIGN_GRPC_OK);
    assert_int_equal(stands("chosen", "chosen").lag, COUNT);    /* none is looked at yet */
    refused(other, ENSIGN_GRPC_FAILED_PRECONDITION, other.query);
    m[0] = join_as(ALL, w);
    assert_int_equal(get(&m[0]).number, 3);
    leave(&m[0]);
    members_become("chosen", 0);
    remove_group("chosen");
    other.from = 0;
    m[0] = join_as(ALL, other);         /* a new group has a query of its own */
    assert_int_equal(get(&m[0]).number, 5);
    leave(&m[0]);
    members_become("chosen", 0);
    remove_group("chosen");
}

static void a_query_comes_to_a_group_with_its_first_member(void **state)
{
    wish_t w = wish("plain", "shared");
    member_t m = join_as(ALL, w);
    (void)state;

    w.query = "SELECT * FROM shared";
    refused(w, ENSIGN_GRPC_FAILED_PRECONDITION, "no query");
    refused(w, ENSIGN_GRPC_FAILED_PRECONDITION, w.query);
    leave(&m);
    members_become("plain", 0);
    remove_group("plain");
    m = join_as(ALL, w);
    publish("shared", 4, 1);
    assert_int_equal(get(&m).number, 4);
    leave(&m);
    members_become("plain", 0);
    remove_group("plain");
}

/* To its end, or to OPEN: whatever comes first. */
static const ensign_notice_t *open_asking(const char *query, const char *parameter)
{
    static const char *const topics[] = { "shared" };
    ensign_subscription_desc_t d;
    ensign_subscription_t s;
    ensign_param_t p;
    const ensign_notice_t *n;

    memset(&d, 0, sizeof d);
    memset(&p, 0, sizeof p);
    p.name = "data";
    p.type = ENSIGN_PARAM_STRING;
    p.as.s = parameter;
    d.topics = topics;
    d.topic_count = 1;
    d.group = "asking";
    d.query = query;
    d.params = &p;
    d.param_count = 1;
    s = ensign_subscription_open(clients[ALL], &d);
    do n = next(clients[ALL], s.id);
    while (n->type != ENSIGN_NOTICE_OPEN && !n->last);
    return n;
}

static void parameters_are_part_of_the_query(void **state)
{
    enum { TOO_LONG = 66000 };
    const char *query = "SELECT * FROM shared WHERE @data = :data";
    char *large = calloc(1, TOO_LONG);
    const ensign_notice_t *n = open_asking(query, "6");
    uint32_t handle = n->handle;
    (void)state;

    assert_non_null(large);
    assert_int_equal(n->type, ENSIGN_NOTICE_OPEN);
    publish("shared", 5, 2);
    n = next(clients[ALL], handle);
    assert_int_equal(n->type, ENSIGN_NOTICE_EVENT);
    assert_true(is(n->as.event->data, "6"));
    n = open_asking(query, "5");
    assert_true(n->last);
    assert_int_equal(n->error->code, ENSIGN_E_FAILED_PRECONDITION);
    assert_non_null(strstr(n->error->text, "other parameters"));
    n = open_asking(query, "6");
    assert_int_equal(n->type, ENSIGN_NOTICE_OPEN);
    ensign_forget(clients[ALL], n->handle);
    ensign_forget(clients[ALL], handle);

    memset(large, 'x', TOO_LONG - 1);
    n = open_asking(query, large);
    assert_true(n->last);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_INVALID_ARGUMENT);
    assert_non_null(strstr(n->error->text, "65536 bytes"));
    free(large);
    members_become("asking", 0);
    remove_group("asking");
}

/* Where a member with this wish begins, if the group is new. */
static int first_of(wish_t w)
{
    member_t m = join_as(ALL, w);
    int number = get(&m).number;

    leave(&m);
    members_become(w.name, 0);
    remove_group(w.name);
    return number;
}

static void an_offset_says_where_a_new_place_begins(void **state)
{
    wish_t w = wish("counted", "counted");
    member_t m;
    got_t g;
    (void)state;

    make_topic("counted");
    publish("counted", 0, 10);
    w.query = "SELECT * FROM counted WHERE @data IN ('1', '8') OFFSET 6";
    assert_int_equal(first_of(w), 8);   /* it counts stored events */
    w.query = "SELECT * FROM counted OFFSET 6";
    w.from = 0;
    assert_int_equal(first_of(w), 0);   /* topic_offsets win */
    w.from = -1;
    m = join_as(ALL, w);
    g = get(&m);
    assert_int_equal(g.number, 6);
    ack(&m, &g);
    lag_becomes("counted", "counted", 3);
    leave(&m);
    members_become("counted", 0);
    m = join_as(ALL, w);
    assert_int_equal(get(&m).number, 7);        /* the place is there, and wins */
    destroy_topic("counted");
    leave(&m);
    members_become("counted", 0);
    make_topic("counted");
    publish("counted", 100, 10);
    m = join_as(ALL, w);
    assert_int_equal(get(&m).number, 106);      /* the group has a place in a topic that is new */
    leave(&m);
    members_become("counted", 0);
    remove_group("counted");

    w.query = "SELECT * FROM counted OFFSET 1000";
    m = join_as(ALL, w);
    publish("counted", 200, 1);
    assert_int_equal(get(&m).number, 200);      /* there are not so many: it is live */
    leave(&m);
    members_become("counted", 0);
    remove_group("counted");
    w = wish("counted", "far");
    w.query = "SELECT * FROM far OFFSET 2200";  /* more than one read of the log gives */
    assert_int_equal(first_of(w), 2200);
}

static void a_destroyed_topic_leaves_its_groups(void **state)
{
    wish_t w = wish("gone", "going");
    member_t m;
    got_t g;
    (void)state;

    make_topic("going");
    w.other = "shared";
    m = join_as(ALL, w);
    publish("going", 1, MAX_UNACKED);
    get(&m);
    destroy_topic("going");
    for (int i = 0; i < 100000 && count_places("gone") > 1; i++) {}
    assert_int_equal(count_places("gone"), 1);
    publish("shared", 77, 1);           /* what was out leaves room again */
    do g = get(&m);
    while (g.number != 77);
    ack(&m, &g);
    lag_becomes("gone", "shared", 0);
    leave(&m);
    members_become("gone", 0);
    remove_group("gone");
}

static void the_library_is_a_member(void **state)
{
    static const char *const topics[] = { "shared" };
    ensign_subscription_desc_t d;
    ensign_subscription_t s;
    const ensign_notice_t *n;
    int got = 0, nacked = 0;
    (void)state;

    memset(&d, 0, sizeof d);
    d.topics = topics;
    d.topic_count = 1;
    d.group = "library";
    s = ensign_subscription_open(clients[ALL], &d);
    do n = next(clients[ALL], s.id);
    while (n->type != ENSIGN_NOTICE_OPEN);
    publish("shared", 0, 30);
    while (got < 30) {
        n = next(clients[ALL], s.id);
        if (n->type != ENSIGN_NOTICE_EVENT) continue;
        if (nacked++ % 4 == 0) {
            ensign_nack(clients[ALL], s, n->as.event->token, ENSIGN_NACK_UNPROCESSED);
        } else {
            ensign_ack(clients[ALL], s, n->as.event->token);
            got++;
        }
    }
    assert_int_equal(lag_becomes("library", "shared", 0).dead_letters, 0);
    ensign_forget(clients[ALL], s.id);
}

/* ------------------------------------------------------------------ a member that is a process of its own */
enum { OPENED = -1 };

typedef struct process_t { pid_t pid; int fd; } process_t;

/* This program, `member FD ENDPOINT AUTH GROUP`: tells the number of each event, and acks it. */
static int run_member(int fd, const char *group)
{
    const char *const topics[] = { group };
    ensign_t *c = client_of("all");
    ensign_subscription_desc_t d;
    ensign_subscription_t s;
    const ensign_notice_t *n;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    memset(&d, 0, sizeof d);
    d.topics = topics;
    d.topic_count = 1;
    d.group = group;
    d.window_bytes = 16384;
    s = ensign_subscription_open(c, &d);
    while (ensign_await(c, s.id, -1, &n) == ENSIGN_OK && !n->last) {
        int number = OPENED;
        if (n->type == ENSIGN_NOTICE_EVENT) number = atoi((const char *)n->as.event->data.ptr);
        else if (n->type != ENSIGN_NOTICE_OPEN) continue;
        if (write(fd, &number, sizeof number) != sizeof number) return 3;
        if (number != OPENED) ensign_ack(c, s, n->as.event->token);
    }
    return 1;
}

static process_t start_member(const char *group)
{
    process_t p;
    char number[16];
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    p.pid = fork();
    assert_true(p.pid >= 0);
    if (p.pid == 0) {
        snprintf(number, sizeof number, "%d", dup(fds[1]));
        execl("/proc/self/exe", "groups", "member", number, server_endpoint, server_auth, group,
              (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    p.fd = fds[0];
    return p;
}

static int told(const process_t *p)
{
    struct pollfd wait = { p->fd, POLLIN, 0 };
    int number;

    assert_int_equal(poll(&wait, 1, WAIT_MS), 1);
    assert_int_equal(read(p->fd, &number, sizeof number), sizeof number);
    return number;
}

static void stop_member(const process_t *p)
{
    int status;

    kill(p->pid, SIGSTOP);
    assert_int_equal(waitpid(p->pid, &status, WUNTRACED), p->pid);
    assert_true(WIFSTOPPED(status));
}

static void end_member(const process_t *p)
{
    kill(p->pid, SIGKILL);
    assert_int_equal(waitpid(p->pid, NULL, 0), p->pid);
    close(p->fd);
}

/* Its connection takes one or two of the events that the group gives it, and all others wait. */
static void a_stopped_member_keeps_nothing_from_others(void **state)
{
    enum { COUNT = 20 };
    wish_t w = wish("stopped", "stopped");
    bool seen[COUNT] = { false };
    process_t p;
    member_t m;
    (void)state;

    make_topic("stopped");
    w.timeout_ms = 1000;
    m = join_as(ALL, w);
    leave(&m);
    p = start_member("stopped");
    assert_int_equal(told(&p), OPENED);
    stop_member(&p);
    publish_sized("stopped", 0, COUNT, LARGE);
    for (int i = 0; i < 100000 && stands("stopped", "stopped").pending < MAX_UNACKED; i++) {}
    m = join_as(ALL, w);
    for (int left = COUNT; left > 0;) {
        got_t g = get(&m);
        left -= !seen[g.number];
        seen[g.number] = true;
        ack(&m, &g);
    }
    assert_int_equal(lag_becomes("stopped", "stopped", 0).dead_letters, 0);
    kill(p.pid, SIGCONT);
    for (int i = 0; i < MAX_UNACKED; i++) assert_int_equal(told(&p), i);        /* late; nothing is lost */
    leave(&m);
    members_become("stopped", 1);
    publish_sized("stopped", 100, COUNT, LARGE);
    for (int i = 0; i < COUNT; i++) assert_int_equal(told(&p), 100 + i);
    lag_becomes("stopped", "stopped", 0);
    end_member(&p);
    members_become("stopped", 0);
    remove_group("stopped");
}

static void with_strict_groups_do_nothing(void **state)
{
    member_t a, b;
    ensi_pb_group_t g;
    (void)state;

    assert_int_equal(stop_server(SIGTERM), 0);
    strict = true;
    start_server();
    make_topic("plain");
    a = join("group", "plain");
    b = join("group", "plain");
    publish("plain", 1, 1);
    assert_int_equal(get(&a).number, 1);
    assert_int_equal(get(&b).number, 1);
    assert_int_equal(get_group(READER, "group", &g), ENSIGN_GRPC_UNIMPLEMENTED);
    leave(&a);
    leave(&b);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_event_goes_to_one_of_four_members),
        cmocka_unit_test(a_member_has_so_many_without_an_ack),
        cmocka_unit_test(members_come_and_go),
        cmocka_unit_test(a_nacked_event_comes_again),
        cmocka_unit_test(three_codes_send_it_to_another_member),
        cmocka_unit_test(without_an_ack_it_comes_again),
        cmocka_unit_test(an_ack_counts_from_any_member),
        cmocka_unit_test(a_poisoned_event_becomes_a_dead_letter),
        cmocka_unit_test(at_most_once_is_done_when_it_is_handed_over),
        cmocka_unit_test(what_a_group_cannot_do_is_refused),
        cmocka_unit_test(a_group_has_an_id_of_16_bytes),
        cmocka_unit_test(a_new_group_begins_live_or_where_it_says),
        cmocka_unit_test(a_group_is_reset_and_removed),
        cmocka_unit_test(a_time_finds_its_event),
        cmocka_unit_test(a_time_far_back_is_answered),
        cmocka_unit_test(a_query_chooses_the_events_of_a_group),
        cmocka_unit_test(a_query_comes_to_a_group_with_its_first_member),
        cmocka_unit_test(parameters_are_part_of_the_query),
        cmocka_unit_test(an_offset_says_where_a_new_place_begins),
        cmocka_unit_test(a_destroyed_topic_leaves_its_groups),
        cmocka_unit_test(the_library_is_a_member),
        cmocka_unit_test(a_stopped_member_keeps_nothing_from_others),
        cmocka_unit_test(with_strict_groups_do_nothing),
    };
    if (argc == 6 && strcmp(argv[1], "member") == 0) {
        snprintf(server_endpoint, sizeof server_endpoint, "%s", argv[3]);
        snprintf(server_auth, sizeof server_auth, "%s", argv[4]);
        return run_member(atoi(argv[2]), argv[5]);
    }
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
