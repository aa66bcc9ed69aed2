/* ensignd_group.c - consumer groups over a log that is late, out of order and failing, in time that the test
 * passes: who gets what, when it comes again, and that each event is done once in the end */
#include "late_log.h"
#include "../../tools/ensignd/filter.h"
#include "../../tools/ensignd/group.h"
#include "../../tools/ensignd/messages.h"

enum { WAIT_MS = 30000, MOST_OUT = 5, MOST_TRIES = 5, MEMBERS = 6, TOPICS = 3, EVENTS = 150 };

static const ulid_t topics[TOPICS] =
    { { "topic of the one" }, { "topic of another" }, { "topic of the 3rd" } };
static groups_t *groups;

/* What a test knows of an event. */
typedef struct known_t {
    uint64_t offset;
    size_t   topic;
    rlid_t   id;
    struct client_t *holder;            /* NULL: it is out nowhere */
    int64_t  since;                     /* when the holder's connection got it; 0: it waits in the queue */
    int64_t  not_before;
    unsigned failures, deliveries;
    bool     done, buried, dying;
    bool     unwanted;                  /* the query of the group does not take it */
    bool     ever;                      /* done once, whatever was forgotten behind that */
    bool     stored;                    /* done, and the record says so */
    struct client_t *refused;           /* the last who said: not me */
} known_t;

typedef struct client_t {
    member_t *member;
    bool      begun, full;
    bool      stopped;                  /* its connection takes nothing */
    bool      stalled;                  /* the group gives it nothing until its queue is empty */
    size_t    queued, out;              /* events that its connection has not yet; that are not answered */
    int64_t   moved;                    /* when its queue was empty last */
    unsigned  subscribed;               /* bits of topics */
} client_t;

static known_t known[EVENTS];
static size_t count;
static client_t clients[MEMBERS];
static group_place_t *burying[TOPICS];  /* by topic */
static known_t *dying[TOPICS];
static bool at_most_once;
static const char *query;               /* of the group; NULL: none */
static bool forgetful;                  /* the process ends now and then, and what was not stored is lost */

static known_t *known_at(uint64_t offset)
{
    for (size_t i = 0; i < count; i++)
        if (known[i].offset == offset) return &known[i];
    fail_msg("an event came that was never published");
    return NULL;
}

static void on_begin(void *member)
{
    ((client_t *)member)->begun = true;
}

static bool on_room(const void *member)
{
    return !((const client_t *)member)->full;
}

static size_t on_queued(const void *member)
{
    return ((const client_t *)member)->queued;
}

static bool somebody_else(const client_t *c, size_t topic)
{
    for (size_t i = 0; i < MEMBERS; i++)
        if (&clients[i] != c && clients[i].begun && !clients[i].stalled &&
            (clients[i].subscribed >> topic & 1))
            return true;
    return false;
}

static void on_deliver(void *member, const log_event_t *e)
{
    client_t *c = member;
    known_t *k = known_at(e->offset);

    assert_true(c->begun && !c->full && !c->stalled);
    assert_true(ulid_eq(&e->topic, &topics[k->topic]));
    assert_true(c->subscribed >> k->topic & 1);
    assert_null(k->holder);
    assert_false(k->stored || k->unwanted);
    assert_true(forgetful || (!k->done && !k->buried && !k->dying && clock_ms >= k->not_before));
    if (k->refused) assert_true(k->refused != c || !somebody_else(c, k->topic));
    k->deliveries++;
    k->id = e->id;
    k->refused = NULL;
    if (c->queued++ == 0) c->moved = clock_ms;
    if (at_most_once) {
        assert_int_equal(k->deliveries, 1);
        k->done = true;
        return;
    }
    assert_true(c->out < MOST_OUT);
    c->out++;
    k->holder = c;
    k->since = 0;
}

static void on_bury(void *user, group_place_t *p, const place_event_t *e)
{
    known_t *k = known_at(e->offset);

    assert_ptr_equal(user, known);
    assert_null(burying[k->topic]);
    assert_non_null(e->value);
    assert_true(k->failures >= MOST_TRIES);
    burying[k->topic] = p;
    dying[k->topic] = k;
}

static const group_hooks_t hooks = { on_begin, on_room, on_queued, on_deliver, on_bury };

static void start(void)
{
    group_rules_t rules = { MOST_OUT, 3, WAIT_MS, MOST_TRIES };
    groups = groups_open(events, &rules, &hooks, known);
}

static void open_all(unsigned seed)
{
    open_log(seed);
    memset(known, 0, sizeof known);
    memset(clients, 0, sizeof clients);
    count = 0;
    memset(burying, 0, sizeof burying);
    at_most_once = forgetful = false;
    query = NULL;
    start();
}

static void close_all(void)
{
    groups_close(groups);
    log_close(events);
}

static void turn(void)
{
    log_turn();
    groups_run(groups, clock_ms);
    groups_sent(groups, clock_ms);
}

static void turns(unsigned n)
{
    while (n--) turn();
}

static void publish_known(size_t topic)
{
    known_t *k = &known[count];
    k->topic = topic;
    k->offset = publish(&topics[topic], "x", 1);
    count++;
}

/* A stored EventWrapper with these data. */
static uint64_t publish_data(size_t topic, ensign_slice_t data)
{
    msg_event_t e;
    msg_event_wrapper_t w;
    buf_t event = { NULL, 0, 0, 0 }, whole = { NULL, 0, 0, 0 };
    uint64_t offset;

    memset(&e, 0, sizeof e);
    memset(&w, 0, sizeof w);
    e.data = data;
    assert_true(msg_put(&event, MSG_EVENT, &e));
    w.event = buf_bytes(&event);
    assert_true(msg_put(&whole, MSG_EVENT_WRAPPER, &w));
    offset = publish_bytes(&topics[topic], whole.ptr, buf_len(&whole));
    buf_free(&event);
    buf_free(&whole);
    return offset;
}

/* What the queries of these tests ask for is "kind". */
static void publish_kind(size_t topic, bool wanted)
{
    known_t *k = &known[count];

    k->topic = topic;
    k->unwanted = !wanted;
    k->offset = publish_data(topic, slice_text(wanted ? "{\"kind\": 1}" : "{\"kind\": 2}"));
    count++;
}

static group_wish_t wish_of(const char *id)
{
    group_wish_t w;

    memset(&w, 0, sizeof w);
    w.project = project;
    memcpy(w.id, id, strlen(id));
    w.name = slice_text(id);
    w.delivery = at_most_once ? GROUP_AT_MOST_ONCE : GROUP_AT_LEAST_ONCE;
    return w;
}

static group_result_t join_as(client_t *c, group_wish_t w, unsigned subscribed, why_t *why)
{
    group_topic_t t[TOPICS];
    group_result_t result;
    msg_query_t q;
    buf_t bytes = { NULL, 0, 0, 0 };
    select_t select;
    ensql_text_t error;

    memset(&q, 0, sizeof q);
    memset(&select, 0, sizeof select);
    q.query = slice_text(query);
    if (query)
        assert_true(msg_put(&bytes, MSG_QUERY, &q) && select_parse(q.query, q.params, &select, &error));
    w.query = buf_bytes(&bytes);
    w.select = &select;
    w.topics = t;
    for (size_t i = 0; i < TOPICS; i++) {
        if (!(subscribed >> i & 1)) continue;
        memset(&t[w.topic_count], 0, sizeof *t);
        t[w.topic_count].id = topics[i];
        t[w.topic_count++].index = i;
    }
    memset(c, 0, sizeof *c);
    c->subscribed = subscribed;
    c->member = group_join(groups, &w, c, &result, why);
    assert_int_equal(result == GROUP_OK, c->member != NULL);
    select_free(&select);
    buf_free(&bytes);
    return result;
}

static void join(client_t *c, unsigned subscribed)
{
    why_t why;
    assert_int_equal(join_as(c, wish_of("g"), subscribed, &why), GROUP_OK);
}

/* What it had is free again. */
static void leave(client_t *c)
{
    for (size_t i = 0; i < count; i++) {
        if (known[i].holder == c) known[i].holder = NULL;
        if (known[i].refused == c) known[i].refused = NULL;
    }
    group_leave(c->member);
    memset(c, 0, sizeof *c);
}

static void no_longer_out(known_t *k)
{
    if (k->holder) k->holder->out--;
    k->holder = NULL;
}

static void ack(client_t *c, known_t *k)
{
    if (!burying[k->topic] || dying[k->topic] != k) {
        no_longer_out(k);
        k->done = true;
    }
    group_ack(c->member, slice_of(k->id.b, sizeof k->id.b));
}

static void fail_delivery(known_t *k)
{
    static const int64_t steps[] = { 0, 100, 200, 400, 800, 1600, 3200, 5000 };

    no_longer_out(k);
    k->failures++;
    k->not_before = clock_ms + steps[k->failures < 7 ? k->failures : 7];
    k->dying = k->failures >= MOST_TRIES;
}

static void nack(client_t *c, known_t *k, bool not_me)
{
    static const int32_t refusals[] = { ENSIGN_NACK_UNHANDLED_MIMETYPE, ENSIGN_NACK_UNKNOWN_TYPE,
                                        ENSIGN_NACK_DELIVER_AGAIN_NOT_ME };
    static const int32_t others[] = { ENSIGN_NACK_UNKNOWN, ENSIGN_NACK_UNPROCESSED, ENSIGN_NACK_TIMEOUT,
                                      ENSIGN_NACK_DELIVER_AGAIN_ANY, -1, 12345 };
    int32_t code = not_me ? refusals[below(COUNT(refusals))] : others[below(COUNT(others))];

    if (k->holder == c) {
        fail_delivery(k);
        if (not_me) k->refused = c;
    }
    group_nack(c->member, slice_of(k->id.b, sizeof k->id.b), code, clock_ms);
}

static known_t *held_by(const client_t *c)
{
    for (size_t i = 0; i < count; i++)
        if (known[i].holder == c) return &known[i];
    return NULL;
}

static void begin(client_t *c)
{
    for (int i = 0; i < 2000 && !c->begun; i++) turn();
    assert_true(c->begun);
}

static known_t *get(client_t *c)
{
    for (int i = 0; i < 2000 && !held_by(c); i++) turn();
    assert_non_null(held_by(c));
    return held_by(c);
}

/* ---- one thing each */

static void a_new_group_begins_live(void **state)
{
    (void)state;
    open_all(1);
    publish_known(0);
    join(&clients[0], 1);
    begin(&clients[0]);
    turns(100);
    assert_int_equal(known[0].deliveries, 0);
    publish_known(0);
    assert_ptr_equal(get(&clients[0]), &known[1]);
    close_all();
}

static void a_new_group_begins_at_its_offsets(void **state)
{
    group_wish_t w;
    group_topic_t t;
    group_result_t result;
    why_t why;
    (void)state;

    open_all(2);
    publish_known(0);
    publish_known(0);
    w = wish_of("g");
    memset(&t, 0, sizeof t);
    t.id = topics[0];
    t.has_offset = true;
    t.offset = known[0].offset;
    w.topics = &t;
    w.topic_count = 1;
    clients[0].subscribed = 1;
    clients[0].member = group_join(groups, &w, &clients[0], &result, &why);
    assert_ptr_equal(get(&clients[0]), &known[1]);
    assert_int_equal(known[0].deliveries, 0);
    close_all();
}

static void what_is_published_while_nobody_is_there_is_kept(void **state)
{
    (void)state;
    open_all(3);
    join(&clients[0], 1);
    begin(&clients[0]);
    leave(&clients[0]);
    turns(100);
    assert_null(groups_find(groups, &project, (const uint8_t *)"g\0\0\0\0\0\0\0\0\0\0\0\0\0\0"));
    publish_known(0);
    publish_known(1);
    join(&clients[1], 3);
    for (int i = 0; i < 2000 && clients[1].out < 2; i++) turn();
    assert_int_equal(clients[1].out, 2);        /* of a topic that is new to the group, too */
    close_all();
}

static void members_take_turns_up_to_their_limit(void **state)
{
    (void)state;
    open_all(4);
    join(&clients[0], 1);
    join(&clients[1], 1);
    begin(&clients[0]);
    begin(&clients[1]);
    for (int i = 0; i < 4; i++) {
        publish_known(0);
        turns(60);
    }
    assert_int_equal(clients[0].out, 2);
    assert_int_equal(clients[1].out, 2);
    for (int i = 0; i < 20; i++) publish_known(0);
    turns(200);
    assert_int_equal(clients[0].out, MOST_OUT);
    assert_int_equal(clients[1].out, MOST_OUT);
    ack(&clients[0], held_by(&clients[0]));
    turns(100);
    assert_int_equal(clients[0].out, MOST_OUT);
    close_all();
}

static void a_member_with_a_full_queue_gets_nothing(void **state)
{
    (void)state;
    open_all(5);
    join(&clients[0], 1);
    begin(&clients[0]);
    clients[0].full = true;
    publish_known(0);
    turns(100);
    clients[0].full = false;
    assert_true(groups_due(groups) == 0);
    groups_sent(groups, clock_ms);
    assert_true(groups_due(groups) == 1);       /* at once: there is room again */
    get(&clients[0]);
    close_all();
}

static void ack_wait_runs_from_the_hand_over(void **state)
{
    known_t *k;
    int64_t sent;
    (void)state;

    open_all(6);
    join(&clients[0], 1);
    begin(&clients[0]);
    publish_known(0);
    k = get(&clients[0]);
    assert_true(groups_due(groups) == clients[0].moved + WAIT_MS);
    clock_ms = clients[0].moved + WAIT_MS - 1;
    clients[0].queued = 0;
    groups_sent(groups, sent = clock_ms);
    clock_ms = sent + WAIT_MS - 1;
    groups_run(groups, clock_ms);
    assert_ptr_equal(k->holder, &clients[0]);
    assert_true(groups_due(groups) == sent + WAIT_MS);
    clock_ms = sent + WAIT_MS;
    fail_delivery(k);
    groups_run(groups, clock_ms);
    assert_true(groups_due(groups) == clock_ms + 100);
    assert_ptr_equal(get(&clients[0]), k);
    assert_int_equal(k->deliveries, 2);
    close_all();
}

/* All that it has not taken is free again; it knows of that, and is given nothing. */
static void note_stalled(client_t *c)
{
    if (c->queued == 0 || c->stalled || clock_ms < c->moved + WAIT_MS) return;
    c->stalled = true;
    for (size_t i = 0; i < count; i++)
        if (known[i].holder == c && !known[i].since) no_longer_out(&known[i]);
}

/* Its connection takes what is queued. */
static void drain(client_t *c)
{
    c->queued = 0;
    c->stalled = false;
    for (size_t i = 0; i < count; i++)
        if (known[i].holder == c && !known[i].since) known[i].since = clock_ms;
    groups_sent(groups, clock_ms);
}

/* Its process is stopped, say: what its connection has comes again as after any ack wait, and what it has not
   at the same time, without being counted. */
static void what_a_stalled_member_has_not_taken_goes_to_others(void **state)
{
    int64_t moved;
    (void)state;

    open_all(19);
    join(&clients[0], 1);
    begin(&clients[0]);
    publish_known(0);
    get(&clients[0]);
    drain(&clients[0]);
    for (int i = 0; i < 3; i++) publish_known(0);
    while (clients[0].out < 4) turn();
    moved = clients[0].moved;
    join(&clients[1], 1);
    begin(&clients[1]);
    clock_ms = moved + WAIT_MS - 1;
    fail_delivery(&known[0]);
    groups_run(groups, clock_ms);
    assert_int_equal(clients[1].out, 0);
    assert_true(groups_due(groups) == moved + WAIT_MS);
    clock_ms = moved + WAIT_MS;
    note_stalled(&clients[0]);
    for (int i = 0; i < 2000 && clients[1].out < 4; i++) turn();
    for (size_t i = 0; i < 4; i++) assert_ptr_equal(known[i].holder, &clients[1]);
    assert_int_equal(known[0].failures, 1);
    drain(&clients[0]);                         /* it goes on: two acks and a nack of what it got late */
    ack(&clients[0], &known[1]);
    nack(&clients[0], &known[2], false);
    turns(100);
    assert_ptr_equal(known[2].holder, &clients[1]);
    ack(&clients[0], &known[3]);
    ack(&clients[1], &known[0]);
    ack(&clients[1], &known[2]);
    turns(100);
    assert_false(groups_busy(groups));
    for (int i = 0; i < 2; i++) publish_known(0);
    turns(200);
    assert_int_equal(clients[0].out, 1);        /* it takes its turns again */
    close_all();
}

/* An event that the other one refuses does not wait for it, and it is no other one for NOT_ME. */
static void nothing_waits_for_a_stalled_member(void **state)
{
    known_t *k;
    (void)state;

    open_all(20);
    join(&clients[0], 1);
    begin(&clients[0]);
    publish_known(0);
    k = get(&clients[0]);
    clock_ms += WAIT_MS;
    note_stalled(&clients[0]);
    turns(100);                                 /* it is alone, and still given nothing */
    assert_null(k->holder);
    assert_int_equal(groups_due(groups), 0);
    join(&clients[1], 1);
    begin(&clients[1]);
    get(&clients[1]);
    nack(&clients[1], k, true);
    assert_ptr_equal(get(&clients[1]), k);
    nack(&clients[1], k, true);
    leave(&clients[1]);
    turns(200);
    assert_null(k->holder);
    drain(&clients[0]);
    assert_ptr_equal(get(&clients[0]), k);
    close_all();
}

/* Each event that its connection takes gives the next one as long again. */
static void a_slow_queue_does_not_stall(void **state)
{
    (void)state;
    open_all(21);
    join(&clients[0], 1);
    begin(&clients[0]);
    for (int i = 0; i < 4; i++) publish_known(0);
    while (clients[0].out < 4) turn();
    for (size_t left = 4; left-- > 0;) {
        clock_ms = clients[0].moved + WAIT_MS - 1;
        groups_run(groups, clock_ms);
        assert_ptr_equal(known[3 - left].holder, &clients[0]);
        clients[0].queued = left;
        groups_sent(groups, clients[0].moved = clock_ms);
        ack(&clients[0], &known[3 - left]);
    }
    turns(200);
    assert_false(groups_busy(groups));
    for (size_t i = 0; i < 4; i++) assert_int_equal(known[i].deliveries, 1);
    close_all();
}

static void a_failed_delivery_comes_later_each_time(void **state)
{
    (void)state;
    open_all(7);
    join(&clients[0], 1);
    begin(&clients[0]);
    publish_known(0);
    for (unsigned i = 1; i < MOST_TRIES; i++) {
        known_t *k = get(&clients[0]);          /* on_deliver sees to not_before */
        assert_int_equal(k->deliveries, i);
        nack(&clients[0], k, false);
    }
    close_all();
}

static void it_goes_to_another_where_there_is_one(void **state)
{
    known_t *k;
    (void)state;

    open_all(8);
    join(&clients[0], 1);
    begin(&clients[0]);
    publish_known(0);
    k = get(&clients[0]);
    nack(&clients[0], k, true);
    assert_ptr_equal(get(&clients[0]), k);      /* there is none */
    join(&clients[1], 1);
    join(&clients[2], 2);
    begin(&clients[1]);
    begin(&clients[2]);
    clients[1].full = true;
    nack(&clients[0], k, true);
    turns(200);
    assert_null(k->holder);                     /* it waits for the other one */
    leave(&clients[1]);
    assert_ptr_equal(get(&clients[0]), k);      /* which has left */
    close_all();
}

static void what_a_leaving_member_had_does_not_count(void **state)
{
    known_t *k;
    (void)state;

    open_all(9);
    join(&clients[0], 1);
    begin(&clients[0]);
    publish_known(0);
    for (int i = 0; i < 3 * MOST_TRIES; i++) {
        k = get(&clients[i % 2]);
        assert_int_equal(k->failures, 0);
        join(&clients[(i + 1) % 2], 1);
        leave(&clients[i % 2]);
    }
    assert_null(burying[0]);
    close_all();
}

static void an_ack_counts_from_any_member(void **state)
{
    known_t *k;
    (void)state;

    open_all(10);
    join(&clients[0], 1);
    begin(&clients[0]);
    publish_known(0);
    k = get(&clients[0]);
    join(&clients[1], 1);
    ack(&clients[1], k);                        /* it is out at another */
    turns(100);
    assert_int_equal(k->deliveries, 1);
    publish_known(0);
    k = get(&clients[0]);
    leave(&clients[0]);
    ack(&clients[1], k);                        /* it was given back */
    turns(100);
    publish_known(0);
    k = get(&clients[1]);
    turns(200);
    groups_close(groups);                       /* and behind a restart: it was not read again yet */
    memset(clients, 0, sizeof clients);
    k->holder = NULL;
    start();
    join(&clients[0], 1);
    ack(&clients[0], k);
    begin(&clients[0]);
    turns(200);
    assert_int_equal(k->deliveries, 1);
    close_all();
}

static group_place_t *buried(size_t topic, bool done)
{
    group_place_t *p = burying[topic];

    burying[topic] = NULL;
    if (done) dying[topic]->buried = true;
    group_buried(p, done, clock_ms);
    return p;
}

static void the_dead_are_buried_once(void **state)
{
    known_t *k;
    group_place_t *p;
    (void)state;

    open_all(11);
    join(&clients[0], 1);
    begin(&clients[0]);
    publish_known(0);
    for (unsigned i = 0; i < MOST_TRIES; i++) {
        k = get(&clients[0]);
        nack(&clients[0], k, false);
    }
    for (int i = 0; i < 2000 && !burying[0]; i++) turn();
    assert_ptr_equal(dying[0], &known[0]);
    assert_false(burying[0]->burying->tried);
    p = buried(0, false);                       /* it failed: the hook is asked again, later */
    for (int i = 0; i < 5000 && !burying[0]; i++) turn();
    assert_ptr_equal(burying[0], p);
    assert_true(p->burying->tried);
    buried(0, true);
    turns(500);
    assert_null(burying[0]);
    publish_known(0);
    assert_ptr_equal(get(&clients[0]), &known[1]);
    close_all();
}

/* Nobody is there for a while, and its topic is destroyed meanwhile. */
static void an_event_stays_until_it_is_buried(void **state)
{
    log_destroy_t d;
    bool gone = false;
    (void)state;

    open_all(17);
    join(&clients[0], 1);
    begin(&clients[0]);
    publish_known(0);
    for (unsigned i = 0; i < MOST_TRIES; i++) nack(&clients[0], get(&clients[0]), false);
    for (int i = 0; i < 2000 && !burying[0]; i++) turn();
    assert_ptr_equal(dying[0], &known[0]);
    leave(&clients[0]);
    memset(&d, 0, sizeof d);
    d.base.done = set_true;
    d.base.user = &gone;
    d.project = project;
    d.topic = topics[0];
    log_destroy(events, &d);
    while (!gone) turn();
    join(&clients[0], 1);
    turns(500);
    assert_int_equal(burying[0]->burying->offset, known[0].offset);
    buried(0, true);
    turns(500);
    assert_false(groups_busy(groups));
    close_all();
}

/* It is due, and so is nothing else: the loop must not turn until the other event has waited. */
static void what_nobody_buries_keeps_no_loop(void **state)
{
    int64_t begun;
    (void)state;

    open_all(18);
    join(&clients[0], 1);
    begin(&clients[0]);
    publish_known(0);
    for (unsigned i = 0; i < MOST_TRIES; i++) nack(&clients[0], get(&clients[0]), false);
    for (int i = 0; i < 2000 && !burying[0]; i++) turn();
    publish_known(0);
    for (unsigned i = 0; i < MOST_TRIES - 2; i++) nack(&clients[0], get(&clients[0]), false);
    assert_ptr_equal(get(&clients[0]), &known[1]);
    begun = clock_ms;
    buried(0, false);                           /* again in 1 s */
    clock_ms += 600;
    nack(&clients[0], &known[1], false);        /* again in 800 ms */
    leave(&clients[0]);
    while (clock_ms < begun + 1050) turn();
    for (int i = 0; i < 100; i++) {
        log_run(events);
        groups_run(groups, clock_ms);
    }
    assert_true(groups_due(groups) > clock_ms);
    close_all();
}

static void at_most_once_is_stored_before_it_is_handed_over(void **state)
{
    (void)state;
    open_all(12);
    at_most_once = true;
    for (unsigned round = 0; round < 20; round++) {
        join(&clients[0], 1);
        begin(&clients[0]);
        for (int i = 0; i < 5; i++) publish_known(0);
        turns(below(40));
        groups_close(groups);                   /* the process ends: nothing may come twice */
        memset(clients, 0, sizeof clients);
        start();
    }
    join(&clients[0], 1);
    turns(500);
    close_all();
}

static void the_first_member_settles_the_group(void **state)
{
    group_wish_t w;
    why_t why;
    (void)state;

    open_all(13);
    w = wish_of("g");
    w.ack_wait = 5000;
    assert_int_equal(join_as(&clients[0], w, 1, &why), GROUP_OK);
    begin(&clients[0]);
    for (int again = 0; again < 2; again++) {
        w.ack_wait = 6000;
        assert_int_equal(join_as(&clients[1], w, 1, &why), GROUP_DIFFERS);
        assert_non_null(strstr(why.text, "5000"));
        assert_non_null(strstr(why.text, "6000"));
        w.ack_wait = 0;
        w.delivery = GROUP_AT_MOST_ONCE;
        assert_int_equal(join_as(&clients[1], w, 1, &why), GROUP_DIFFERS);
        assert_non_null(strstr(why.text, "AT_MOST_ONCE"));
        assert_non_null(strstr(why.text, "AT_LEAST_ONCE"));
        w.delivery = GROUP_AT_LEAST_ONCE;
        assert_int_equal(join_as(&clients[1], w, 1, &why), GROUP_OK);
        groups_close(groups);                   /* and what was settled is kept */
        memset(clients, 0, sizeof clients);
        start();
    }
    close_all();
}

static const place_t *place_in(size_t topic)
{
    const group_t *g = groups_find(groups, &project, wish_of("g").id);
    assert_non_null(g);
    return group_place(g, &topics[topic]);
}

static void what_a_query_does_not_take_is_done(void **state)
{
    (void)state;
    open_all(22);
    query = "SELECT * FROM t WHERE kind = 1";
    join(&clients[0], 1);
    join(&clients[1], 1);
    begin(&clients[0]);
    begin(&clients[1]);
    for (int i = 0; i < 12; i++) publish_kind(0, i % 4 == 1);
    turns(200);
    assert_int_equal(clients[0].out + clients[1].out, 3);       /* on_deliver sees to which */
    assert_int_equal(place_pending(place_in(0)), 3);
    assert_int_equal(place_in(0)->counts[PLACE_READY], 0);
    assert_true(place_in(0)->floor == known[0].offset);
    for (int i = 0; i < 3; i++) nack(&clients[0], &known[4 * i + 1], false);
    for (int i = 0; i < 3; i++) ack(&clients[1], &known[4 * i + 1]);
    turns(200);
    assert_true(place_in(0)->floor == known[11].offset);
    assert_false(groups_busy(groups));
    close_all();
}

/* One that is no event, and one with more values than a query may cost (field.h). */
static void what_a_query_cannot_look_at_is_left_out(void **state)
{
    static const char head[] = "{\"kind\": 1, \"many\": [0";
    size_t n = sizeof head - 1, size = n + 2 * VIEW_VALUES_MAX + 2;
    char *data = x_alloc(size);
    (void)state;

    open_all(28);
    query = "SELECT * FROM t WHERE kind = 1";
    join(&clients[0], 1);
    begin(&clients[0]);
    publish_known(0);
    memcpy(data, head, n);
    for (; n < size - 2; n += 2) memcpy(data + n, ",0", 2);
    memcpy(data + n, "]}", 2);
    publish_data(0, slice_of(data, size));      /* on_deliver would not know it */
    known[0].unwanted = true;
    publish_kind(0, true);
    assert_ptr_equal(get(&clients[0]), &known[1]);
    assert_true(place_in(0)->floor == known[1].offset - 1);
    free(data);
    close_all();
}

/* Events are looked at in their turn: behind one that nobody has room for they wait. */
static void what_nobody_has_room_for_is_not_looked_at(void **state)
{
    (void)state;
    open_all(23);
    query = "SELECT * FROM t WHERE kind = 1";
    join(&clients[0], 1);
    begin(&clients[0]);
    clients[0].full = true;
    publish_kind(0, false);
    publish_kind(0, true);
    for (int i = 0; i < 3; i++) publish_kind(0, false);
    turns(200);
    assert_int_equal(place_in(0)->counts[PLACE_READY], 4);
    clients[0].full = false;
    get(&clients[0]);
    turns(200);
    assert_int_equal(place_in(0)->counts[PLACE_READY], 0);
    assert_int_equal(known[1].deliveries, 1);
    close_all();
}

static void at_most_once_has_queries_too(void **state)
{
    (void)state;
    open_all(24);
    at_most_once = true;
    query = "SELECT * FROM t WHERE kind = 1";
    join(&clients[0], 1);
    begin(&clients[0]);
    for (int i = 0; i < 20; i++) publish_kind(0, i % 2 == 0);
    turns(400);
    for (int i = 0; i < 20; i++) assert_int_equal(known[i].deliveries, i % 2 == 0);
    assert_true(place_in(0)->floor == known[19].offset);
    close_all();
}

/* One event makes more than the work of a turn. */
static void the_work_of_a_query_is_shared_out(void **state)
{
    enum { MANY = 8, LARGE = 120000 };
    char sql[2000] = "SELECT * FROM t WHERE @data ILIKE '%zz%'", *data = x_alloc(LARGE + 1);
    (void)state;

    open_all(25);
    memset(data, 'a', LARGE);
    while (strlen(sql) < 1900) strcat(sql, " OR @data ILIKE '%zz%'");
    query = sql;
    join(&clients[0], 1);
    begin(&clients[0]);
    turns(100);
    assert_true(place_in(0)->live);
    for (int i = 0; i < MANY; i++) publish_data(0, slice_of(data, LARGE));      /* no run of groups between */
    for (int i = 0; i < 1000 && place_in(0)->counts[PLACE_READY] < MANY; i++) log_turn();
    for (size_t left = MANY; left > 0; left--) {
        assert_int_equal(place_in(0)->counts[PLACE_READY], left);
        groups_run(groups, clock_ms);
        groups_run(groups, clock_ms);           /* in the same turn */
        assert_int_equal(place_in(0)->counts[PLACE_READY], left - 1);
        assert_int_equal(groups_due(groups), 1);
        groups_sent(groups, clock_ms);
    }
    turns(100);
    assert_false(groups_busy(groups));
    assert_int_equal(groups_due(groups), 0);
    free(data);
    close_all();
}

static void refused_for(const char *sql, const char *words, const char *others)
{
    why_t why;

    query = sql;
    assert_int_equal(join_as(&clients[1], wish_of("g"), 1, &why), GROUP_DIFFERS);
    if (!strstr(why.text, words) || !strstr(why.text, others)) fail_msg("%s", why.text);
}

static void the_first_member_settles_the_query(void **state)
{
    static const char asked[] = "SELECT * FROM t WHERE kind = 1", other[] = "SELECT * FROM t WHERE kind = 2";
    char many[400];
    why_t why;
    (void)state;

    open_all(26);
    query = asked;
    join(&clients[0], 1);
    begin(&clients[0]);
    for (int again = 0; again < 2; again++) {
        refused_for(other, other, asked);
        refused_for(NULL, "no query", asked);
        snprintf(many, sizeof many, "%s OR note = '%0200d'", asked, 0);
        refused_for(many, asked, "\"...");
        query = asked;
        assert_int_equal(join_as(&clients[1], wish_of("g"), 1, &why), GROUP_OK);
        publish_kind(0, false);
        publish_kind(0, true);
        begin(&clients[1]);
        while (clients[0].out + clients[1].out == 0) turn();
        groups_close(groups);                   /* and it is kept */
        for (size_t i = 0; i < count; i++) known[i].holder = NULL;
        memset(clients, 0, sizeof clients);
        start();
    }
    close_all();

    open_all(27);
    join(&clients[0], 1);
    begin(&clients[0]);
    refused_for(asked, "no query", asked);
    close_all();
}

static void a_record_is_read_in_both_versions(void **state)
{
    static const uint8_t old[] = "\1\1" "\0\0\0\0\0\0\0\7" "\0\0\0\0\0\0\0\10" "\0\0\0\0\0\0\0\11" "name";
    group_record_t r, back;
    buf_t b = { NULL, 0, 0, 0 };
    (void)state;

    assert_true(group_record_read(&r, slice_of(old, sizeof old - 1)));
    assert_int_equal(r.delivery, GROUP_AT_MOST_ONCE);
    assert_int_equal(r.ack_wait, 7);
    assert_int_equal(r.epoch, 8);
    assert_int_equal(r.begun, 9);
    assert_true(slice_is(r.name, "name"));
    assert_int_equal(r.query.len, 0);
    assert_false(group_record_read(&r, slice_of(old, 25)));
    assert_true(group_record_read(&r, slice_of(old, sizeof old - 1)));
    r.query = slice_text("a query");
    group_record_put(&b, &r);
    assert_true(group_record_read(&back, buf_bytes(&b)));
    assert_true(back.delivery == r.delivery && back.ack_wait == 7 && back.epoch == 8 && back.begun == 9);
    assert_true(slice_is(back.name, "name"));
    assert_true(slice_is(back.query, "a query"));
    for (size_t len = 0; len < 34 + sizeof "name" - 1; len++)
        assert_false(group_record_read(&back, slice_of(b.ptr, len)));
    b.ptr[0] = 3;
    assert_false(group_record_read(&back, buf_bytes(&b)));
    buf_free(&b);
}

static void a_project_has_so_many_groups(void **state)
{
    why_t why;
    group_wish_t w;
    (void)state;

    open_all(14);
    assert_int_equal(join_as(&clients[0], wish_of("a"), 1, &why), GROUP_OK);
    assert_int_equal(join_as(&clients[1], wish_of("b"), 1, &why), GROUP_OK);
    begin(&clients[1]);
    leave(&clients[1]);
    turns(100);
    assert_int_equal(join_as(&clients[1], wish_of("c"), 1, &why), GROUP_OK);
    assert_int_equal(join_as(&clients[2], wish_of("d"), 1, &why), GROUP_TOO_MANY);
    assert_non_null(strstr(why.text, "--max-groups"));
    assert_int_equal(join_as(&clients[2], wish_of("b"), 1, &why), GROUP_OK);
    w = wish_of("d");
    memcpy(w.project.b, "another project.", 16);
    assert_int_equal(join_as(&clients[3], w, 1, &why), GROUP_OK);
    close_all();
}

static void a_locked_group_takes_nobody_and_goes(void **state)
{
    group_lock_t lock;
    why_t why;
    (void)state;

    open_all(15);
    join(&clients[0], 1);
    begin(&clients[0]);
    publish_known(0);
    nack(&clients[0], get(&clients[0]), false);
    lock.project = project;
    memcpy(lock.id, wish_of("g").id, GROUP_ID);
    groups_lock(groups, &lock);
    assert_int_equal(join_as(&clients[1], wish_of("g"), 1, &why), GROUP_LOCKED);
    leave(&clients[0]);
    turns(100);
    assert_null(groups_find(groups, &project, lock.id));
    groups_unlock(&lock);
    join(&clients[0], 1);
    close_all();
}

static size_t records;

static bool count_record(void *user, ensign_slice_t key, ensign_slice_t value)
{
    (void)user;
    (void)key;
    (void)value;
    records++;
    return true;
}

static void a_topic_that_is_gone_takes_its_places_along(void **state)
{
    known_t *k;
    (void)state;

    open_all(16);
    join(&clients[0], 3);
    begin(&clients[0]);
    publish_known(0);
    publish_known(0);
    publish_known(1);
    while (clients[0].out < 3) turn();
    nack(&clients[0], held_by(&clients[0]), false);
    turns(100);
    groups_topic_gone(groups, &topics[0]);
    for (size_t i = 0; i < 2; i++) known[i].holder = NULL;
    clients[0].out = 1;
    turns(200);
    log_each(events, "place/", count_record, NULL);
    assert_int_equal(records, 1);
    k = held_by(&clients[0]);
    assert_ptr_equal(k, &known[2]);
    ack(&clients[0], k);
    turns(100);
    assert_false(groups_busy(groups));
    close_all();
}

/* ---- random runs */

static void time_out(void)
{
    for (size_t i = 0; i < count; i++)
        if (known[i].holder && known[i].since && clock_ms >= known[i].since + WAIT_MS)
            fail_delivery(&known[i]);
}

static void random_step(void)
{
    client_t *c = &clients[below(MEMBERS)];
    known_t *k = count ? &known[below((unsigned)count)] : NULL;

    if (count < EVENTS && one_of(3)) {
        if (query) publish_kind(below(TOPICS), one_of(2));
        else publish_known(below(TOPICS));
    }
    if (!c->member && one_of(4)) join(c, 1 + below(7));
    else if (c->member && one_of(60)) leave(c);
    if (!c->member) return;
    if (one_of(3)) c->full = !c->full;
    if (one_of(30)) c->stopped = !c->stopped;
    if (k && k->deliveries && k->holder != c && one_of(4)) nack(c, k, one_of(2));       /* a late one */
    if (k && k->holder && k->holder == c && one_of(3)) nack(c, k, one_of(2));
    else if (k && k->holder && one_of(2)) ack(c, k);
}

static bool all_over(void)
{
    size_t over = 0;
    for (size_t i = 0; i < count; i++)
        over += known[i].ever || known[i].done || known[i].buried || known[i].unwanted;
    return count == EVENTS && over == EVENTS;
}

static void random_bury(void)
{
    for (size_t i = 0; i < TOPICS; i++)
        if (burying[i] && one_of(3)) buried(i, one_of(2));
}

/* Queues are drained whole at once, so that the time of each hand-over is known. */
static void drain_some(void)
{
    for (size_t i = 0; i < MEMBERS; i++)
        if (!clients[i].stopped && one_of(2)) drain(&clients[i]);
    groups_sent(groups, clock_ms);
}

static void a_random_run(unsigned seed)
{
    open_all(seed);
    if (seed % 2) query = "SELECT * FROM t WHERE kind = 1";
    join(&clients[0], 7);
    begin(&clients[0]);
    for (int step = 0; step < 100000 && !all_over(); step++) {
        random_step();
        clock_ms += one_of(200) ? WAIT_MS / 2 : 0;
        log_turn();
        time_out();
        for (size_t i = 0; i < MEMBERS; i++) note_stalled(&clients[i]);
        groups_run(groups, clock_ms);
        random_bury();
        drain_some();
    }
    assert_true(all_over());
    turns(1000);
    assert_false(groups_busy(groups));
    close_all();
}

static void note_stored(void)
{
    if (groups_busy(groups)) return;
    for (size_t i = 0; i < count; i++) known[i].stored = known[i].done || known[i].buried;
}

static void end_and_start(void)
{
    groups_close(groups);
    memset(clients, 0, sizeof clients);
    memset(burying, 0, sizeof burying);
    for (size_t i = 0; i < count; i++) {
        known[i].holder = NULL;
        known[i].refused = NULL;
        known[i].ever = known[i].ever || known[i].done || known[i].buried;
        known[i].done = known[i].buried = known[i].stored;
    }
    start();
}

/* What comes again was not done, or the record that says so was not stored. */
static void a_random_run_with_ends(unsigned seed)
{
    open_all(seed);
    if (seed % 2) query = "SELECT * FROM t WHERE kind = 1";
    forgetful = true;
    join(&clients[0], 7);
    begin(&clients[0]);
    for (int step = 0; step < 100000 && !all_over(); step++) {
        random_step();
        turn();
        random_bury();
        note_stored();
        drain_some();
        if (one_of(50)) end_and_start();
    }
    assert_true(all_over());
    close_all();
}

static void in_random_runs_each_event_is_done_once(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= seeds(60); seed++) {
        running = seed;
        a_random_run(seed);
    }
    running = 0;
}

static void in_random_runs_with_ends_nothing_stored_comes_again(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= seeds(60); seed++) {
        running = seed;
        a_random_run_with_ends(seed);
    }
    running = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_group_begins_live),
        cmocka_unit_test(a_new_group_begins_at_its_offsets),
        cmocka_unit_test(what_is_published_while_nobody_is_there_is_kept),
        cmocka_unit_test(members_take_turns_up_to_their_limit),
        cmocka_unit_test(a_member_with_a_full_queue_gets_nothing),
        cmocka_unit_test(ack_wait_runs_from_the_hand_over),
        cmocka_unit_test(what_a_stalled_member_has_not_taken_goes_to_others),
        cmocka_unit_test(nothing_waits_for_a_stalled_member),
        cmocka_unit_test(a_slow_queue_does_not_stall),
        cmocka_unit_test(a_failed_delivery_comes_later_each_time),
        cmocka_unit_test(it_goes_to_another_where_there_is_one),
        cmocka_unit_test(what_a_leaving_member_had_does_not_count),
        cmocka_unit_test(an_ack_counts_from_any_member),
        cmocka_unit_test(the_dead_are_buried_once),
        cmocka_unit_test(an_event_stays_until_it_is_buried),
        cmocka_unit_test(what_nobody_buries_keeps_no_loop),
        cmocka_unit_test(at_most_once_is_stored_before_it_is_handed_over),
        cmocka_unit_test(the_first_member_settles_the_group),
        cmocka_unit_test(what_a_query_does_not_take_is_done),
        cmocka_unit_test(what_a_query_cannot_look_at_is_left_out),
        cmocka_unit_test(what_nobody_has_room_for_is_not_looked_at),
        cmocka_unit_test(at_most_once_has_queries_too),
        cmocka_unit_test(the_work_of_a_query_is_shared_out),
        cmocka_unit_test(the_first_member_settles_the_query),
        cmocka_unit_test(a_record_is_read_in_both_versions),
        cmocka_unit_test(a_project_has_so_many_groups),
        cmocka_unit_test(a_locked_group_takes_nobody_and_goes),
        cmocka_unit_test(a_topic_that_is_gone_takes_its_places_along),
        cmocka_unit_test(in_random_runs_each_event_is_done_once),
        cmocka_unit_test(in_random_runs_with_ends_nothing_stored_comes_again),
    };
    return run_seeded(tests);
}
