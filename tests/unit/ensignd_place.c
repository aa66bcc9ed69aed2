/* ensignd_place.c - a group's place in a topic, over a log that is late, out of order and failing: what is
 * done does not come again, all else does, also behind the end of the process at any time */
#include "late_log.h"
#include "../../tools/ensignd/messages.h"
#include "../../tools/ensignd/place.h"

enum { EVENTS = 120, MANY = (int)PLACE_EVENTS + 500, LARGE = 1 << 20 };

static const ulid_t topic = { "topic of the one" }, other = { "topic of another" };
static size_t bytes, touches, acked_count;
static rlid_t acked[8];

static void on_touched(place_t *p)
{
    (void)p;
    touches++;
}

static bool on_new(place_t *p, const rlid_t *id)
{
    (void)p;
    for (size_t i = 0; i < acked_count; i++)
        if (memcmp(&acked[i], id, sizeof *id) == 0) return true;
    return false;
}

static void told(log_follow_t *f, const log_event_t *e, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (ulid_eq(&e[i].topic, &topic)) place_told(f->user, &e[i]);
}

static void start(place_t *p, log_follow_t *f, uint64_t begin)
{
    place_key_t key;

    bytes = 0;
    memset(p, 0, sizeof *p);
    memset(f, 0, sizeof *f);
    f->project = key.project = project;
    f->events = told;
    f->user = p;
    memcpy(key.group, "a group's own id", sizeof key.group);
    key.topic = topic;
    log_follow(events, f);
    p->touched = on_touched;
    p->is_done = on_new;
    p->bytes = &bytes;
    p->told = f->from;
    place_open(p, events, &key, begin);
}

/* As when the process is killed: what is under way may happen or not. */
static void end(place_t *p, log_follow_t *f)
{
    log_unfollow(events, f);
    place_close(p);
    assert_int_equal(bytes, 0);
}

static void run(place_t *p, unsigned turns)
{
    while (turns--) {
        place_wake(p, clock_ms);
        place_run(p);
        log_turn();
    }
}

static void store(place_t *p)
{
    do run(p, 1);
    while (!place_is_stored(p));
}

static place_event_t *next(place_t *p)
{
    uint64_t index = 0;
    place_event_t *e = NULL;

    for (int i = 0; i < 2000 && !e; i++) {
        e = place_next(p, &index);
        if (!e) run(p, 1);
    }
    assert_non_null(e);
    return e;
}

static void events_come_in_order_with_all_that_belongs_to_them(void **state)
{
    place_t p;
    log_follow_t f;
    uint64_t before, offsets[3];
    (void)state;

    open_log(1);
    before = publish(&topic, "before", 6);
    offsets[0] = publish(&topic, "first", 5);
    publish(&other, "not this", 8);
    offsets[1] = publish(&topic, "", 0);
    start(&p, &f, before);
    run(&p, 50);
    offsets[2] = publish(&topic, "live", 4);
    for (size_t i = 0; i < COUNT(offsets); i++) {
        static const char *const texts[] = { "first", "", "live" };
        place_event_t *e = next(&p);
        assert_true(e->offset == offsets[i]);
        assert_int_equal(e->len, strlen(texts[i]));
        assert_memory_equal(e->value, texts[i], e->len);
        assert_true(e->committed.seconds > 0);
        place_out(&p, e);
        assert_null(e->value);
    }
    assert_int_equal(place_pending(&p), 3);
    end(&p, &f);
    log_close(events);
}

static void what_is_done_above_the_floor_is_remembered(void **state)
{
    place_t p;
    log_follow_t f;
    place_event_t *e[6];
    uint64_t offsets[6];
    (void)state;

    open_log(2);
    for (size_t i = 0; i < COUNT(e); i++) offsets[i] = publish(&topic, "x", 1);
    start(&p, &f, 0);
    for (size_t i = 0; i < COUNT(e); i++) {
        e[i] = next(&p);
        place_out(&p, e[i]);
    }
    place_done(&p, e[0]);
    place_done(&p, e[2]);
    place_done(&p, e[3]);
    place_done(&p, e[5]);
    e[4]->failures = 3;
    place_again(&p, e[4], clock_ms + 1000);
    assert_true(p.floor == offsets[0]);
    store(&p);
    end(&p, &f);

    start(&p, &f, 0);
    assert_true(p.floor == offsets[0]);
    e[0] = next(&p);
    place_out(&p, e[0]);
    e[1] = next(&p);
    place_out(&p, e[1]);
    assert_true(e[0]->offset == offsets[1] && e[0]->failures == 0);
    assert_true(e[1]->offset == offsets[4] && e[1]->failures == 3);
    run(&p, 50);
    assert_int_equal(p.counts[PLACE_READY], 0);
    place_done(&p, e[0]);
    assert_true(p.floor == offsets[3]);
    place_done(&p, e[1]);
    assert_true(p.floor >= offsets[5]);
    end(&p, &f);
    log_close(events);
}

static void one_that_waits_is_ready_at_its_time(void **state)
{
    place_t p;
    log_follow_t f;
    place_event_t *e;
    uint64_t index = 0;
    int64_t due;
    (void)state;

    open_log(3);
    publish(&topic, "x", 1);
    start(&p, &f, 0);
    e = next(&p);
    place_out(&p, e);
    due = clock_ms + 500;
    place_again(&p, e, due);
    store(&p);
    assert_true(place_run(&p) == due);
    place_wake(&p, due - 1);
    assert_null(place_next(&p, &index));
    assert_int_equal(e->state, PLACE_WAIT);
    place_wake(&p, due);
    assert_int_equal(e->state, PLACE_READY);
    assert_ptr_equal(next(&p), e);      /* its value is read again */
    assert_int_equal(p.redeliveries, 0);
    place_out(&p, e);
    assert_int_equal(p.redeliveries, 1);
    end(&p, &f);
    log_close(events);
}

static void a_claim_counts_once_it_is_stored(void **state)
{
    place_t p;
    log_follow_t f;
    place_event_t *e;
    uint64_t index = 0;
    (void)state;

    open_log(4);
    publish(&topic, "x", 1);
    start(&p, &f, 0);
    e = next(&p);
    store(&p);
    place_claim(&p, e);
    assert_null(place_next(&p, &index));
    store(&p);
    index = 0;
    assert_ptr_equal(place_next(&p, &index), e);
    end(&p, &f);
    start(&p, &f, 0);                   /* the process has ended between the record and the hand-over */
    run(&p, 60);
    assert_int_equal(p.counts[PLACE_READY], 0);
    end(&p, &f);
    log_close(events);
}

static void an_idle_place_gives_its_claims_back(void **state)
{
    place_t p;
    log_follow_t f;
    (void)state;

    open_log(5);
    publish(&topic, "x", 1);
    start(&p, &f, 0);
    place_claim(&p, next(&p));
    store(&p);
    place_idle(&p, true);
    assert_int_equal(p.counts[PLACE_READY], 1);
    assert_int_equal(bytes, 0);
    store(&p);
    end(&p, &f);
    start(&p, &f, 0);
    next(&p);
    end(&p, &f);
    log_close(events);
}

static void the_dead_are_marked_and_found_again(void **state)
{
    place_t p;
    log_follow_t f;
    place_event_t *e;
    (void)state;

    open_log(6);
    publish(&topic, "bad", 3);
    start(&p, &f, 0);
    e = next(&p);
    store(&p);
    place_out(&p, e);
    e->failures = 5;
    e->code = ENSIGN_NACK_UNKNOWN_TYPE;
    place_dead(&p, e, 77);
    assert_null(place_next_dead(&p));   /* not before the mark is stored */
    store(&p);
    while (!(e = place_next_dead(&p))) run(&p, 1);
    assert_false(e->tried);
    assert_memory_equal(e->value, "bad", 3);
    end(&p, &f);

    start(&p, &f, 0);
    while (!(e = place_next_dead(&p))) run(&p, 1);
    assert_true(e->tried && e->since == 77 && e->failures == 5 && e->code == ENSIGN_NACK_UNKNOWN_TYPE);
    place_done(&p, e);
    store(&p);
    end(&p, &f);
    start(&p, &f, 0);
    run(&p, 60);
    assert_int_equal(p.counts[PLACE_DEAD], 0);
    end(&p, &f);
    log_close(events);
}

static void an_ack_may_come_before_its_event_is_read(void **state)
{
    place_t p;
    log_follow_t f;
    place_event_t *e;
    (void)state;

    open_log(7);
    publish(&topic, "a", 1);
    publish(&topic, "b", 1);
    start(&p, &f, 0);
    e = next(&p);
    acked[0] = e->id;
    end(&p, &f);
    acked_count = 1;
    start(&p, &f, 0);
    e = next(&p);
    assert_memory_equal(e->value, "b", 1);
    acked_count = 0;
    store(&p);
    end(&p, &f);
    start(&p, &f, 0);
    e = next(&p);
    assert_memory_equal(e->value, "b", 1);
    end(&p, &f);
    log_close(events);
}

static void destroy_topic(void)
{
    log_destroy_t d;
    bool done = false;

    memset(&d, 0, sizeof d);
    d.base.done = set_true;
    d.base.user = &done;
    d.project = project;
    d.topic = topic;
    log_destroy(events, &d);
    while (!done) log_turn();
}

static void what_is_gone_from_the_log_is_done(void **state)
{
    place_t p;
    log_follow_t f;
    place_event_t *e;
    (void)state;

    open_log(8);
    publish(&topic, "a", 1);
    publish(&topic, "b", 1);
    start(&p, &f, 0);
    e = next(&p);
    place_out(&p, e);
    destroy_topic();
    place_again(&p, e, 0);
    run(&p, 100);
    assert_int_equal(p.counts[PLACE_READY], 1);         /* b, which was read before */
    e = next(&p);
    assert_memory_equal(e->value, "b", 1);
    place_done(&p, e);
    assert_int_equal(p.end - p.begin, 0);
    end(&p, &f);
    log_close(events);
}

/* An EventWrapper, with data or as the duplicate of another event. Returns its size. */
static size_t wrap(uint8_t out[200], const char *data, const rlid_t *original)
{
    msg_event_wrapper_t w;
    msg_event_t e;
    uint8_t event[100];
    size_t n = 0;

    memset(&w, 0, sizeof w);
    memset(&e, 0, sizeof e);
    if (data) e.data = slice_text(data);
    assert_true(msg_encode(MSG_EVENT, &e, event, sizeof event, &n));
    w.event = slice_of(event, n);
    w.is_duplicate = original != NULL;
    if (original) w.duplicate_id = slice_of(original->b, sizeof original->b);
    assert_true(msg_encode(MSG_EVENT_WRAPPER, &w, out, 200, &n));
    return n;
}

static bool has_data(const place_event_t *e, const char *data)
{
    msg_event_wrapper_t w;
    msg_event_t event;

    return msg_decode(MSG_EVENT_WRAPPER, &w, slice_of(e->value, e->len)) &&
           msg_decode(MSG_EVENT, &event, w.event) && slice_is(event.data, data);
}

static void a_duplicate_is_made_whole_in_its_turn(void **state)
{
    static const rlid_t none = { "not there!" };
    place_t p;
    log_follow_t f;
    uint8_t value[200];
    place_event_t *e;
    rlid_t original;
    (void)state;

    open_log(12);
    publish_bytes(&topic, value, wrap(value, "content", NULL));
    start(&p, &f, 0);
    e = next(&p);
    original = e->id;
    place_out(&p, e);
    publish_bytes(&topic, value, wrap(value, NULL, &original));
    publish_bytes(&topic, value, wrap(value, NULL, &none));
    publish_bytes(&topic, value, wrap(value, "behind", NULL));
    e = next(&p);
    assert_true(has_data(e, "content"));
    place_out(&p, e);
    e->failures = 1;
    place_again(&p, e, clock_ms + 100);
    place_wake(&p, clock_ms + 100);
    assert_ptr_equal(next(&p), e);              /* it is read again, and made whole again */
    assert_true(has_data(e, "content"));
    place_out(&p, e);
    place_dead(&p, e, 0);
    while (!(e = place_next_dead(&p))) run(&p, 1);
    assert_true(has_data(e, "content"));
    e = next(&p);                               /* the one whose original is gone is left out */
    assert_true(has_data(e, "behind"));
    end(&p, &f);
    log_close(events);
}

/* The oldest event is kept out: the window fills, and the place waits. */
static void a_full_place_waits(void **state)
{
    place_t p;
    log_follow_t f;
    place_event_t *first;
    size_t done = 0, most = 0;
    uint64_t last = 0;
    (void)state;

    open_log(9);
    for (int i = 0; i < MANY; i++) {
        last = publish(&topic, "0123456789", 10);
        clock_ms -= 10;
    }
    start(&p, &f, 0);
    first = next(&p);
    place_out(&p, first);
    for (int idle = 0; idle < 200; idle++) {
        uint64_t index = 0;
        place_event_t *e;
        while ((e = place_next(&p, &index)) != NULL) {
            place_done(&p, e);
            done++;
            idle = 0;
        }
        if (p.held > most) most = p.held;
        run(&p, 1);
    }
    assert_int_equal(done, PLACE_EVENTS - 1);
    assert_true(most <= PLACE_AHEAD);
    place_done(&p, first);
    while (p.floor < last) place_done(&p, next(&p));
    assert_int_equal(p.end - p.begin, 0);
    end(&p, &f);
    log_close(events);
}

static void large_values_are_not_kept_beyond_the_bound(void **state)
{
    place_t p;
    log_follow_t f;
    size_t most = 0;
    (void)state;

    open_log(10);
    start(&p, &f, 0);
    for (int i = 0; i < 12; i++) {
        publish(&topic, "large", LARGE);
        run(&p, 30);
        if (bytes > most) most = bytes;
    }
    assert_true(most <= PLACE_BYTES + LARGE);
    for (int i = 0; i < 12; i++) {
        place_event_t *e = next(&p);
        assert_int_equal(e->len, LARGE);
        place_done(&p, e);
        run(&p, 30);
        assert_true(bytes <= PLACE_BYTES + LARGE);
    }
    end(&p, &f);
    log_close(events);
}

static void a_record_of_another_epoch_begins_anew(void **state)
{
    place_t p;
    log_follow_t f;
    place_record_t r;
    log_put_t put;
    buf_t key = { NULL, 0, 0, 0 }, value = { NULL, 0, 0, 0 };
    place_key_t k;
    bool done = false;
    (void)state;

    open_log(11);
    publish(&topic, "a", 1);
    memset(&r, 0, sizeof r);
    r.epoch = log_epoch(events, &project) + 1;
    r.floor = 1000;
    r.redeliveries = 7;
    place_record_put(&value, &r);
    k.project = project;
    memcpy(k.group, "a group's own id", sizeof k.group);
    k.topic = topic;
    place_key_put(&key, &k);
    memset(&put, 0, sizeof put);
    put.base.done = set_true;
    put.base.user = &done;
    put.key = buf_bytes(&key);
    put.value = buf_bytes(&value);
    log_put(events, &put);
    while (!done) log_turn();
    start(&p, &f, 0);
    assert_memory_equal(next(&p)->value, "a", 1);
    assert_int_equal(p.redeliveries, 7);
    end(&p, &f);
    buf_free(&key);
    buf_free(&value);
    log_close(events);
}

static void a_record_is_read_as_it_was_written(void **state)
{
    place_range_t ranges[] = { { 12, 12 }, { 14, 900 }, { 1000, UINT64_MAX - 1 } };
    place_mark_t marks[] = { { 13, 2, 0, 0, false }, { 950, 5, 940, 103, true } };
    place_record_t r = { 1, 10, 3, 4, ranges, marks, 3, 2 }, back;
    buf_t b = { NULL, 0, 0, 0 };
    (void)state;

    r.epoch = UINT64_MAX;
    place_record_put(&b, &r);
    assert_true(place_record_read(&back, buf_bytes(&b)));
    assert_true(back.epoch == r.epoch && back.floor == 10);
    assert_true(back.redeliveries == 3 && back.dead_letters == 4);
    assert_int_equal(back.range_count, 3);
    assert_memory_equal(back.ranges, ranges, sizeof ranges);
    assert_int_equal(back.mark_count, 2);
    for (size_t i = 0; i < COUNT(marks); i++)
        assert_true(back.marks[i].offset == marks[i].offset && back.marks[i].failures == marks[i].failures &&
                    back.marks[i].since == marks[i].since && back.marks[i].dead == marks[i].dead &&
                    back.marks[i].code == marks[i].code);
    place_record_free(&back);
    for (size_t n = 0; n < buf_len(&b); n++) assert_false(place_record_read(&back, slice_of(b.ptr, n)));
    for (size_t i = 0; i < buf_len(&b); i++)    /* whatever it says then, nothing is read beyond its end */
        for (unsigned v = 0; v < 256; v++) {
            uint8_t was = b.ptr[i];
            b.ptr[i] = (uint8_t)v;
            if (place_record_read(&back, buf_bytes(&b))) place_record_free(&back);
            b.ptr[i] = was;
        }
    buf_free(&b);
}

/* ---- random runs: what was done in a stored record never comes again, all else does until it is done */

typedef struct model_t { uint64_t offset; bool ever, done, stored; unsigned failures; } model_t;

static model_t *model_of(model_t *m, size_t count, uint64_t offset)
{
    for (size_t i = 0; i < count; i++)
        if (m[i].offset == offset) return &m[i];
    fail_msg("an event came that was never published");
    return NULL;
}

static void a_random_run(unsigned seed)
{
    static model_t m[EVENTS];
    place_event_t *out[8] = { NULL };
    place_t p;
    log_follow_t f;
    size_t count = 0;
    bool over = false;

    open_log(seed);
    memset(m, 0, sizeof m);
    start(&p, &f, 0);
    for (int step = 0; !over && step < 200000; step++) {
        uint64_t index = 0;
        size_t k = below(COUNT(out));
        if (count < EVENTS && one_of(3)) m[count++].offset = publish(&topic, "x", 1);
        if (one_of(5)) publish(&other, "x", 1);
        if (!out[k] && (out[k] = place_next(&p, &index)) != NULL) {
            model_t *x = model_of(m, count, out[k]->offset);
            assert_false(x->stored);
            assert_true(out[k]->failures <= x->failures);
            place_out(&p, out[k]);
        } else if (out[k] && one_of(3)) {
            if (one_of(4)) out[k]->failures = ++model_of(m, count, out[k]->offset)->failures;
            place_again(&p, out[k], one_of(2) ? clock_ms + below(300) + 1 : 0);
            out[k] = NULL;
        } else if (out[k]) {
            model_t *x = model_of(m, count, out[k]->offset);
            x->done = x->ever = true;
            place_done(&p, out[k]);
            out[k] = NULL;
        }
        run(&p, 1);
        if (place_is_stored(&p)) {
            for (size_t i = 0; i < count; i++) m[i].stored = m[i].done;
            over = count == EVENTS && p.floor >= m[EVENTS - 1].offset;
        }
        if (!one_of(60)) continue;
        end(&p, &f);
        for (size_t i = 0; i < count; i++) m[i].done = m[i].stored;
        memset(out, 0, sizeof out);
        start(&p, &f, 0);
    }
    assert_true(over);
    for (size_t i = 0; i < EVENTS; i++) assert_true(m[i].ever);
    end(&p, &f);
    log_close(events);
}

static void random_runs_lose_nothing_and_repeat_nothing_stored(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= seeds(60); seed++) {
        running = seed;
        a_random_run(seed);
    }
    running = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_in_order_with_all_that_belongs_to_them),
        cmocka_unit_test(what_is_done_above_the_floor_is_remembered),
        cmocka_unit_test(one_that_waits_is_ready_at_its_time),
        cmocka_unit_test(a_claim_counts_once_it_is_stored),
        cmocka_unit_test(an_idle_place_gives_its_claims_back),
        cmocka_unit_test(the_dead_are_marked_and_found_again),
        cmocka_unit_test(an_ack_may_come_before_its_event_is_read),
        cmocka_unit_test(what_is_gone_from_the_log_is_done),
        cmocka_unit_test(a_duplicate_is_made_whole_in_its_turn),
        cmocka_unit_test(a_full_place_waits),
        cmocka_unit_test(large_values_are_not_kept_beyond_the_bound),
        cmocka_unit_test(a_record_of_another_epoch_begins_anew),
        cmocka_unit_test(a_record_is_read_as_it_was_written),
        cmocka_unit_test(random_runs_lose_nothing_and_repeat_nothing_stored),
    };
    return run_seeded(tests);
}
