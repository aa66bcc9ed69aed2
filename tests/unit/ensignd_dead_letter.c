/* ensignd_dead_letter.c - what a group could not deliver lies in the dead-letter topic once, as it was and
 * with the reason, over a log that is late, out of order and failing, also where the process ends in between
 * */
#include "late_log.h"
#include "../../tools/ensignd/dead_letter.c"

enum { EVENTS = 12 };

static topics_t topics;
static service_t service;
static uint64_t offsets[EVENTS];
static ulid_t topic;

/* What topic_state.c needs of others, and these tests do not. */
void change_put(change_t *x, uint64_t revision)
{
    (void)x;
    (void)revision;
}

msg_timestamp_t wall_in(int64_t seconds)
{
    msg_timestamp_t t = { 0, 0 };
    t.seconds = seconds;
    return t;
}

/* ---- the letter */

static const dead_reason_t reason = { "workers", (const uint8_t *)"0123456789abcdef",
                                      { (const uint8_t *)"jobs", 4 }, { "topic of the one" }, 42, { "0123456789" }, ENSIGN_NACK_UNKNOWN_TYPE, 5 };

static buf_t wrapped(ensign_slice_t event, const msg_encryption_t *e, int32_t compression)
{
    msg_event_wrapper_t w;
    buf_t out = { NULL, 0, 0, 0 };

    memset(&w, 0, sizeof w);
    w.topic_id = slice_text("topic of the one");
    w.key = slice_text("a key");
    w.event = event;
    w.has_encryption = e != NULL;
    if (e) w.encryption = *e;
    w.has_compression = compression != 0;
    w.compression.algorithm = compression;
    assert_true(msg_put(&out, MSG_EVENT_WRAPPER, &w));
    return out;
}

static buf_t event_of(const char *data)
{
    msg_event_t e;
    buf_t out = { NULL, 0, 0, 0 };

    memset(&e, 0, sizeof e);
    e.data = slice_text(data);
    e.mimetype = 50;
    e.has_created = true;
    e.created.seconds = 7;
    assert_true(msg_put(&out, MSG_EVENT, &e));
    put_pair(&out, "own", slice_text("metadata"));
    return out;
}

static bool has_pair(const msg_event_t *e, const char *key, const char *value)
{
    msg_event_metadata_entry_t pair;
    ensign_slice_t entry;
    size_t at = 0;

    while (msg_next(e->metadata, MSG_EVENT_METADATA_TAG, &at, &entry))
        if (msg_decode(MSG_EVENT_METADATA_ENTRY, &pair, entry) && slice_is(pair.key, key))
            return slice_is(pair.value, value);
    return false;
}

static void check_reason(const msg_event_t *e)
{
    assert_true(has_pair(e, DEAD_REASON, "UNKNOWN_TYPE"));
    assert_true(has_pair(e, DEAD_DELIVERIES, "5"));
    assert_true(has_pair(e, DEAD_GROUP, "workers"));
    assert_true(has_pair(e, DEAD_TOPIC, "jobs"));
    assert_true(has_pair(e, DEAD_OFFSET, "42"));
}

static void an_event_stays_as_it_was(void **state)
{
    buf_t event = event_of("payload"), stored = wrapped(buf_bytes(&event), NULL, 0), out = { NULL, 0, 0, 0 };
    ulid_t dead = { "the dead letters" };
    msg_event_wrapper_t w;
    msg_event_t e;
    (void)state;

    assert_true(dead_letter_put(&out, buf_bytes(&stored), &dead, &reason));
    assert_true(msg_decode(MSG_EVENT_WRAPPER, &w, buf_bytes(&out)));
    assert_true(slice_is(w.topic_id, "the dead letters") && slice_is(w.key, "a key"));
    assert_true(w.event.len > buf_len(&event));
    assert_memory_equal(w.event.ptr, event.ptr, buf_len(&event));
    assert_true(msg_decode(MSG_EVENT, &e, w.event));
    assert_true(slice_is(e.data, "payload") && e.mimetype == 50 && e.created.seconds == 7);
    assert_true(has_pair(&e, "own", "metadata"));
    check_reason(&e);
    buf_free(&event);
    buf_free(&stored);
    buf_free(&out);
}

static void check_wrapped(buf_t stored)
{
    buf_t out = { NULL, 0, 0, 0 };
    ulid_t dead = { "the dead letters" };
    msg_event_wrapper_t w;
    msg_event_t e;

    assert_true(dead_letter_put(&out, buf_bytes(&stored), &dead, &reason));
    assert_true(msg_decode(MSG_EVENT_WRAPPER, &w, buf_bytes(&out)));
    assert_true(slice_is(w.topic_id, "the dead letters"));
    assert_false(w.has_encryption || w.has_compression);
    assert_true(msg_decode(MSG_EVENT, &e, w.event));
    assert_true(slice_eq(e.data, buf_bytes(&stored)));
    assert_int_equal(e.mimetype, ENSIGN_MIME_APPLICATION_PROTOBUF);
    assert_true(slice_is(e.type.name, "EventWrapper"));
    check_reason(&e);
    assert_true(dead_letter_is(buf_bytes(&out), &reason));
    buf_free(&out);
    buf_free(&stored);
}

static void what_metadata_would_spoil_is_wrapped(void **state)
{
    buf_t event = event_of("payload"), broken = { NULL, 0, 0, 0 };
    msg_encryption_t e;
    (void)state;

    memset(&e, 0, sizeof e);
    e.encryption_algorithm = 110;
    check_wrapped(wrapped(buf_bytes(&event), &e, 0));
    e.encryption_algorithm = 0;
    e.signature_algorithm = 310;
    check_wrapped(wrapped(buf_bytes(&event), &e, 0));
    check_wrapped(wrapped(buf_bytes(&event), NULL, 1));
    check_wrapped(wrapped(slice_text("\xff\xff no event"), NULL, 0));
    buf_put(&broken, "\xff\xff\xff", 3);
    check_wrapped(broken);
    buf_free(&event);
}

static void a_letter_is_known_again(void **state)
{
    buf_t event = event_of("payload"), stored = wrapped(buf_bytes(&event), NULL, 0), out = { NULL, 0, 0, 0 };
    ulid_t dead = { "the dead letters" };
    dead_reason_t other = reason;
    (void)state;

    assert_true(dead_letter_put(&out, buf_bytes(&stored), &dead, &reason));
    assert_true(dead_letter_is(buf_bytes(&out), &reason));
    assert_false(dead_letter_is(buf_bytes(&stored), &reason));
    other.offset = 4;
    assert_false(dead_letter_is(buf_bytes(&out), &other));
    other = reason;
    other.group_id = (const uint8_t *)"0123456789abcdeF";
    assert_false(dead_letter_is(buf_bytes(&out), &other));
    other = reason;
    other.topic_id.b[3]++;
    assert_false(dead_letter_is(buf_bytes(&out), &other));
    buf_free(&event);
    buf_free(&stored);
    buf_free(&out);
}

static void a_long_name_is_cut(void **state)
{
    char name[TOPIC_NAME_MAX + 1];
    buf_t a = { NULL, 0, 0, 0 }, b = { NULL, 0, 0, 0 };
    (void)state;

    dead_letter_name(slice_text("jobs"), &a);
    assert_true(slice_is(buf_bytes(&a), "jobs-dead"));
    memset(name, 'n', sizeof name);
    for (size_t n = TOPIC_NAME_MAX - 6; n <= TOPIC_NAME_MAX; n++) {
        a.start = a.end = 0;
        dead_letter_name(slice_of(name, n), &a);
        assert_null(topic_name_fault(buf_bytes(&a)));
        assert_memory_equal(a.ptr + a.end - 5, "-dead", 5);
    }
    name[TOPIC_NAME_MAX - 1] = 'm';                 /* two that differ at the end alone */
    dead_letter_name(slice_of(name, TOPIC_NAME_MAX), &b);
    assert_false(slice_eq(buf_bytes(&a), buf_bytes(&b)));
    buf_free(&a);
    buf_free(&b);
}

/* ---- burials */

typedef struct client_t { member_t *member; bool begun; rlid_t out[64]; size_t count; } client_t;

static client_t client;

static void on_begin(void *member)
{
    ((client_t *)member)->begun = true;
}

static bool on_room(const void *member)
{
    return ((const client_t *)member)->count < COUNT(client.out);
}

static size_t on_queued(const void *member)
{
    (void)member;
    return 0;
}

static void on_deliver(void *member, const log_event_t *e)
{
    client_t *c = member;
    c->out[c->count++] = e->id;
}

static const group_hooks_t hooks = { on_begin, on_room, on_queued, on_deliver, dead_letter_bury };

static void start(uint64_t begin)
{
    group_rules_t rules = { 64, 10, 30000, 2 };
    group_wish_t w;
    group_topic_t t;
    group_result_t result;
    why_t why;

    service.groups = groups_open(events, &rules, &hooks, &service);
    memset(&client, 0, sizeof client);
    memset(&w, 0, sizeof w);
    memset(&t, 0, sizeof t);
    w.project = project;
    w.name = slice_text("workers");
    group_id_of(slice_of(NULL, 0), w.name, w.id);
    w.delivery = GROUP_AT_LEAST_ONCE;
    w.topics = &t;
    w.topic_count = 1;
    t.id = topic;
    t.has_offset = true;
    t.offset = begin;
    client.member = group_join(service.groups, &w, &client, &result, &why);
    assert_non_null(client.member);
}

/* As when the process is killed: a put that is under way may happen or not. An append cannot be cancelled: it
   happens, and nobody hears of it. */
static void end_process(void)
{
    burial_t *b = service.burials;      /* one place has one at most */
    bool appended = false;

    if (b && b->append.base.done) {
        b->append.base.done = set_true;
        b->append.base.user = &appended;
        while (!appended) log_run(events), clock_ms++;
    } else if (b) {
        log_cancel(events, b->read.base.done ? &b->read.base : &b->put.base);
    }
    dead_letters_free(&service);
    groups_close(service.groups);
}

static void turn(void)
{
    log_turn();
    while (client.count) {
        rlid_t id = client.out[--client.count];
        group_nack(client.member, slice_of(id.b, sizeof id.b), ENSIGN_NACK_UNPROCESSED, clock_ms);
    }
    groups_run(service.groups, clock_ms);
    groups_sent(service.groups, clock_ms);
}

static void put_topic_record(const char *name)
{
    msg_topic_t m;
    log_put_t put;
    buf_t key = { NULL, 0, 0, 0 }, value = { NULL, 0, 0, 0 };
    bool done = false;

    memset(&m, 0, sizeof m);
    m.name = slice_text(name);
    topic_record_key(&project, m.name, &key);
    assert_true(topic_message_put(&value, &project, &m));
    memset(&put, 0, sizeof put);
    put.base.done = set_true;
    put.base.user = &done;
    put.key = buf_bytes(&key);
    put.value = buf_bytes(&value);
    log_put(events, &put);
    while (!done) log_turn();
    buf_free(&key);
    buf_free(&value);
}

typedef struct page_t { bool done; size_t letters[EVENTS]; size_t others; } page_t;

static void on_all(log_request_t *base)
{
    log_read_t *r = (log_read_t *)base;
    page_t *p = base->user;
    dead_reason_t why = reason;
    uint8_t id[GROUP_ID];

    group_id_of(slice_of(NULL, 0), slice_text("workers"), id);
    why.group_id = id;
    why.topic_id = topic;
    for (size_t i = 0; i < r->count; i++) {
        bool known = false;
        for (size_t k = 0; k < EVENTS; k++) {
            why.offset = offsets[k];
            if (!dead_letter_is(r->events[i].value, &why)) continue;
            p->letters[k]++;
            known = true;
        }
        p->others += !known;
    }
    r->after = r->reached;
    p->done = r->end;
    if (!r->end) log_read(events, r);
}

static void check_letters(size_t others)
{
    const topic_t *t = topics_by_name(&topics, &project, slice_text("jobs-dead"));
    log_read_t r;
    page_t p;

    assert_non_null(t);
    assert_true(t->dead_letters);
    memset(&r, 0, sizeof r);
    memset(&p, 0, sizeof p);
    r.base.done = on_all;
    r.base.user = &p;
    r.project = project;
    r.topics = &t->id;
    r.topic_count = 1;
    r.until = UINT64_MAX;
    r.most_events = 100;
    log_read(events, &r);
    while (!p.done) log_turn();
    for (size_t i = 0; i < EVENTS; i++) assert_int_equal(p.letters[i], 1);
    assert_int_equal(p.others, others);
}

static void a_run(unsigned seed, bool ends, bool taken)
{
    const place_t *p = NULL;
    uint64_t begin;
    uint8_t id[GROUP_ID];
    ulid_t dead = { "another's letter" };

    open_log(seed);
    memset(&service, 0, sizeof service);
    topics_open(&topics, events);
    service.log = events;
    service.topics = &topics;
    put_topic_record("jobs");
    if (taken) put_topic_record("jobs-dead");       /* a topic of that name is there already */
    topic = topics_by_name(&topics, &project, slice_text("jobs"))->id;
    if (taken) dead = topics_by_name(&topics, &project, slice_text("jobs-dead"))->id;
    if (taken) publish(&dead, "an event of its own", 19);
    begin = log_last(events, &project);
    start(begin);
    for (size_t i = 0; i < EVENTS; i++)
        offsets[i] = publish_bytes(&topic, (const uint8_t *)"\x4a\x02\x12\x00", 4);      /* event: data "" */
    group_id_of(slice_of(NULL, 0), slice_text("workers"), id);
    for (int step = 0; step < 60000; step++) {
        if (p && p->floor >= offsets[EVENTS - 1] && place_is_stored(p)) break;
        turn();
        p = group_place(groups_find(service.groups, &project, id), &topic);
        if (!ends || !one_of(60)) continue;
        end_process();
        start(begin);
        p = NULL;
    }
    assert_non_null(p);
    check_letters(taken);
    end_process();
    topics_close(&topics);
    log_close(events);
}

static void all_are_buried_once(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= seeds(20); seed++) {
        running = seed;
        a_run(seed, false, seed % 2 == 0);
    }
    running = 0;
}

static void all_are_buried_once_over_ends_of_the_process(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= seeds(60); seed++) {
        running = seed;
        a_run(seed, true, seed % 2 == 0);
    }
    running = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_stays_as_it_was),
        cmocka_unit_test(what_metadata_would_spoil_is_wrapped),
        cmocka_unit_test(a_letter_is_known_again),
        cmocka_unit_test(a_long_name_is_cut),
        cmocka_unit_test(all_are_buried_once),
        cmocka_unit_test(all_are_buried_once_over_ends_of_the_process),
    };
    return run_seeded(tests);
}
