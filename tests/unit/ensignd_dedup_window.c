/* ensignd_dedup_window.c - the development server's deduplication at publish time, over logs in memory: one
 * that answers soon, and late ones */
#include "../../tools/ensignd/util.h"
static int64_t clock_ahead;             /* ms */
static int64_t test_clock(void) { return wall_ms() + clock_ahead; }
#define wall_ms test_clock
#include "../../tools/ensignd/dedup_window.c"
#undef wall_ms
#include "../../tools/ensignd/log_now.h"
#include "../../tools/ensignd/restore.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

enum { SECONDS = 100 };

static const ulid_t project = { { 1 } };
static const char *seed;                /* of the late log; NULL: the other */
static log_t *l;
static topics_t topics;
static dedup_window_t *window;
static why_t why;

/* ------------------------------------------------------------------ topics and events */
typedef struct policy_t {
    int32_t strategy, offset;
    bool overwrite;
    int32_t state;
    const char *key;
} policy_t;

/* The topic, made or changed. */
static topic_t *topic(const char *name, policy_t p)
{
    msg_topic_t m;
    buf_t key = { NULL, 0, 0, 0 }, value = key, keys = key;
    topic_t *t = topics_by_name(&topics, &project, slice_text(name));
    ulid_t id = t ? t->id : ulid_new();

    memset(&m, 0, sizeof m);
    m.id = slice_of(id.b, sizeof id.b);
    m.name = slice_text(name);
    m.status = p.state ? p.state : MSG_TOPIC_STATE_READY;
    m.has_deduplication = true;
    m.deduplication.strategy = p.strategy;
    m.deduplication.offset = p.offset;
    m.deduplication.overwrite_duplicate = p.overwrite;
    if (p.key) msg_put_field(&keys, MSG_DEDUPLICATION_KEYS_TAG, slice_text(p.key));
    m.deduplication.keys = buf_bytes(&keys);
    topic_record_key(&project, m.name, &key);
    assert_true(msg_put(&value, MSG_TOPIC, &m));
    assert_true(log_put_now(l, buf_bytes(&key), buf_bytes(&value), &why));
    buf_free(&key);
    buf_free(&value);
    buf_free(&keys);
    t = topics_by_id(&topics, &id);
    assert_non_null(t);
    dedup_window_changed(window, t);
    return t;
}

/* A wrapper; pair: "k=v", a key of one letter, or NULL. */
static buf_t event(const char *data, const char *pair, int32_t mimetype)
{
    msg_event_wrapper_t w;
    msg_event_metadata_entry_t m;
    msg_event_t e;
    buf_t out = { NULL, 0, 0, 0 }, bytes = out, entry = out, metadata = out;

    memset(&w, 0, sizeof w);
    memset(&e, 0, sizeof e);
    memset(&m, 0, sizeof m);
    e.data = slice_text(data);
    e.mimetype = mimetype;
    if (pair) {
        m.key = slice_of(pair, 1);
        m.value = slice_text(pair + 2);
        assert_true(msg_put(&entry, MSG_EVENT_METADATA_ENTRY, &m));
        msg_put_field(&metadata, MSG_EVENT_METADATA_TAG, buf_bytes(&entry));
        e.metadata = buf_bytes(&metadata);
    }
    assert_true(msg_put(&bytes, MSG_EVENT, &e));
    w.topic_id = slice_text("tttttttttttttttt");
    w.event = buf_bytes(&bytes);
    assert_true(msg_put(&out, MSG_EVENT_WRAPPER, &w));
    buf_free(&bytes);
    buf_free(&entry);
    buf_free(&metadata);
    return out;
}

/* ------------------------------------------------------------------ publishing */
static bool answered;

static void on_append(log_request_t *r)
{
    (void)r;
    answered = true;
}

static dedup_answer_t ask(const topic_t *t, const buf_t *value, buf_t *marked)
{
    marked->start = marked->end = 0;
    return dedup_window_ask(window, &t->id, buf_bytes(value), marked);
}

/* Asks until it is not to come later: the serial tells when that is worth it. */
static dedup_answer_t ask_until(const topic_t *t, const buf_t *value, buf_t *marked)
{
    for (;;) {
        uint64_t serial = dedup_window_serial(window);
        dedup_answer_t a = ask(t, value, marked);
        if (a != DEDUP_LATER) return a;
        if (serial != dedup_window_serial(window)) continue;
        while (serial == dedup_window_serial(window)) log_run(l);
    }
}

static void append_begin(log_append_t *a, log_new_t *n, const topic_t *t, ensign_slice_t value)
{
    memset(a, 0, sizeof *a);
    a->base.done = on_append;
    a->project = project;
    a->events = n;
    a->count = 1;
    n->topic = t->id;
    n->value = value;
    answered = false;
    log_append(l, a);
}

static void append(const topic_t *t, ensign_slice_t value)
{
    log_append_t a;
    log_new_t n;

    append_begin(&a, &n, t, value);
    while (!answered) log_run(l);
    assert_int_equal(a.base.result, LOG_OK);
}

static dedup_answer_t publish(const topic_t *t, const char *data, const char *pair)
{
    buf_t value = event(data, pair, 0), marked = { NULL, 0, 0, 0 };
    dedup_answer_t a = ask_until(t, &value, &marked);

    append(t, a == DEDUP_REPEATED ? buf_bytes(&marked) : buf_bytes(&value));
    buf_free(&value);
    buf_free(&marked);
    return a;
}

/* ------------------------------------------------------------------ a log for each test */
static void open_window(void)
{
    window = dedup_window_open(l, &topics, SECONDS);
}

static int open_log(void **state)
{
    seed = *state;
    clock_ahead = 0;
    l = log_open(seed ? &log_late : &log_sqlite, seed, LOG_WRITE, 60000, &why);
    if (!l) return -1;
    topics_open(&topics, l);
    open_window();
    return 0;
}

static int close_log(void **state)
{
    (void)state;
    dedup_window_close(window);
    topics_close(&topics);
    log_close(l);
    return 0;
}

static const policy_t datagram = { DEDUP_DATAGRAM, 0, false, 0, NULL };

static void a_copy_is_marked(void **state)
{
    topic_t *t = topic("a", datagram), *other = topic("b", datagram);
    (void)state;

    assert_int_equal(publish(t, "x", NULL), DEDUP_NEW);
    assert_int_equal(publish(t, "y", NULL), DEDUP_NEW);
    assert_int_equal(publish(t, "x", "k=1"), DEDUP_REPEATED);
    assert_int_equal(publish(t, "x", NULL), DEDUP_REPEATED);
    assert_int_equal(publish(t, "xy", NULL), DEDUP_NEW);
    assert_int_equal(publish(other, "x", NULL), DEDUP_NEW);
    assert_int_equal(publish(other, "x", NULL), DEDUP_REPEATED);
}

static void without_a_policy_nothing_is_looked_at(void **state)
{
    topic_t *t = topic("a", (policy_t){ .strategy = DEDUP_NONE });
    (void)state;

    assert_int_equal(publish(t, "x", NULL), DEDUP_NEW);
    assert_int_equal(publish(t, "x", NULL), DEDUP_NEW);
    dedup_window_close(window);
    window = dedup_window_open(l, &topics, 0);
    t = topic("a", datagram);
    assert_int_equal(publish(t, "x", NULL), DEDUP_NEW);
}

typedef struct read_t { const char *wanted; size_t seen; rlid_t first; } read_t;

static bool read_id(void *user, const log_event_t *e)
{
    read_t *r = user;
    if (r->seen++ == 0) r->first = e->id;
    return true;
}

/* What is stored of a copy is what the same policy makes of it when it is set later. */
static void each_strategy_marks_as_a_policy_that_is_set(void **state)
{
    static const policy_t policies[] = {
        { DEDUP_STRICT, 0, false, 0, NULL }, { DEDUP_DATAGRAM, 0, false, 0, NULL },
        { DEDUP_DATAGRAM, 0, true, 0, NULL }, { DEDUP_KEY_GROUPED, 0, false, 0, "k" },
        { DEDUP_UNIQUE_KEY, 0, false, 0, "k" }, { DEDUP_UNIQUE_KEY, 2, false, 0, "k" },
    };
    static const struct { const char *data, *pair; int32_t mimetype; } pairs[][2] = {
        { { "x", "k=1", 5 }, { "x", "k=1", 5 } }, { { "x", "k=1", 5 }, { "x", "k=1", 6 } },
        { { "x", "z=1", 5 }, { "y", "z=1", 5 } }, { { "x", NULL, 0 }, { "y", NULL, 0 } },
        { { "x", "k=1", 0 }, { "x", "k=2", 0 } }, { { "x", "k=1", 0 }, { "", "k=1", 0 } },
        { { "", "k=1", 0 }, { "x", "k=1", 0 } },
    };
    char name[16];
    (void)state;

    for (size_t p = 0; p < sizeof policies / sizeof policies[0]; p++) {
        for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
            buf_t a = event(pairs[i][0].data, pairs[i][0].pair, pairs[i][0].mimetype);
            buf_t b = event(pairs[i][1].data, pairs[i][1].pair, pairs[i][1].mimetype);
            buf_t marked = { NULL, 0, 0, 0 }, wanted = marked;
            const dedup_policy_t *policy;
            read_t r = { NULL, 0, { { 0 } } };
            topic_t *t;
            dedup_answer_t got;
            snprintf(name, sizeof name, "t%zu-%zu", p, i);
            t = topic(name, policies[p]);
            assert_int_equal(ask_until(t, &a, &marked), DEDUP_NEW);
            append(t, buf_bytes(&a));
            got = ask_until(t, &b, &marked);
            assert_true(log_read_now(l, &project, &t->id, read_id, &r, &why));
            assert_int_equal(r.seen, 1);
            policy = &window->windows[t->index]->policy;
            if (dedup_same(policy, buf_bytes(&b), buf_bytes(&a))) {
                assert_int_equal(got, DEDUP_REPEATED);
                assert_true(dedup_shrink(policy, buf_bytes(&b), buf_bytes(&a), &r.first, &wanted));
                assert_true(slice_eq(buf_bytes(&wanted), buf_bytes(&marked)));
            } else {
                assert_int_equal(got, DEDUP_NEW);
            }
            buf_free(&a);
            buf_free(&b);
            buf_free(&marked);
            buf_free(&wanted);
        }
    }
}

/* Its id is not known yet. */
static void a_copy_waits_for_its_original(void **state)
{
    topic_t *t = topic("a", datagram);
    buf_t x = event("x", NULL, 0), marked = { NULL, 0, 0, 0 };
    read_t r = { NULL, 0, { { 0 } } };
    log_append_t a;
    log_new_t n;
    rlid_t original;
    (void)state;

    assert_int_equal(ask_until(t, &x, &marked), DEDUP_NEW);
    assert_int_equal(ask(t, &x, &marked), DEDUP_LATER);
    append_begin(&a, &n, t, buf_bytes(&x));
    assert_int_equal(ask(t, &x, &marked), DEDUP_LATER);
    while (!answered) log_run(l);
    assert_int_equal(ask_until(t, &x, &marked), DEDUP_REPEATED);
    assert_true(log_read_now(l, &project, &t->id, read_id, &r, &why));
    assert_true(dedup_original(buf_bytes(&marked), &original));
    assert_memory_equal(original.b, r.first.b, sizeof original.b);
    buf_free(&x);
    buf_free(&marked);
}

static void a_failed_original_is_none(void **state)
{
    topic_t *t = topic("a", datagram);
    buf_t x = event("x", NULL, 0), marked = { NULL, 0, 0, 0 };
    (void)state;

    assert_int_equal(ask_until(t, &x, &marked), DEDUP_NEW);
    dedup_window_failed(window, &t->id, buf_bytes(&x));
    assert_int_equal(ask(t, &x, &marked), DEDUP_NEW);
    append(t, buf_bytes(&x));
    assert_int_equal(ask_until(t, &x, &marked), DEDUP_REPEATED);
    dedup_window_failed(window, &t->id, buf_bytes(&x));      /* of an earlier one, whose answer was lost */
    assert_int_equal(ask(t, &x, &marked), DEDUP_REPEATED);
    buf_free(&x);
    buf_free(&marked);
}

static void it_ends_with_the_window(void **state)
{
    topic_t *t = topic("a", datagram);
    (void)state;

    assert_int_equal(publish(t, "x", NULL), DEDUP_NEW);
    clock_ahead = SECONDS * 1000 - 10000;
    assert_int_equal(publish(t, "x", NULL), DEDUP_REPEATED);
    clock_ahead = SECONDS * 1000 + 1;
    assert_int_equal(publish(t, "x", NULL), DEDUP_NEW);
    assert_int_equal(publish(t, "x", NULL), DEDUP_REPEATED);
}

static void a_restart_changes_nothing(void **state)
{
    topic_t *t = topic("a", datagram);
    char data[16];
    (void)state;

    for (int i = 0; i < 300; i++) {     /* more than a page */
        snprintf(data, sizeof data, "%d", i);
        assert_int_equal(publish(t, data, NULL), DEDUP_NEW);
    }
    assert_int_equal(publish(t, "7", "k=1"), DEDUP_REPEATED);
    dedup_window_close(window);
    open_window();
    for (int i = 299; i >= 0; i -= 100) {
        snprintf(data, sizeof data, "%d", i);
        assert_int_equal(publish(t, data, NULL), DEDUP_REPEATED);
    }
    assert_int_equal(publish(t, "new", NULL), DEDUP_NEW);
    dedup_window_close(window);
    open_window();
    clock_ahead = SECONDS * 1000 + 1;
    assert_int_equal(publish(t, "7", NULL), DEDUP_NEW);
}

static void the_policy_of_now_counts(void **state)
{
    topic_t *t = topic("a", datagram);
    (void)state;

    assert_int_equal(publish(t, "x", NULL), DEDUP_NEW);
    topic("a", (policy_t){ .strategy = DEDUP_DATAGRAM, .state = MSG_TOPIC_STATE_PENDING });
    assert_int_equal(publish(t, "x", NULL), DEDUP_NEW);
    topic("a", (policy_t){ .strategy = DEDUP_NONE });
    assert_int_equal(publish(t, "x", NULL), DEDUP_NEW);
    topic("a", (policy_t){ .strategy = DEDUP_UNIQUE_KEY, .key = "k" });
    assert_int_equal(publish(t, "x", "k=1"), DEDUP_NEW);
    assert_int_equal(publish(t, "y", "k=1"), DEDUP_REPEATED);
    topic("a", datagram);
    assert_int_equal(publish(t, "x", "k=9"), DEDUP_REPEATED);
    assert_int_equal(publish(t, "y", "k=1"), DEDUP_NEW);        /* it was no original */
}

static void events_of_others_are_seen(void **state)
{
    topic_t *t = topic("a", datagram);
    buf_t x = event("x", NULL, 0);
    (void)state;

    assert_int_equal(publish(t, "y", NULL), DEDUP_NEW);
    append(t, buf_bytes(&x));           /* it was not asked for here */
    while (window->windows[t->index]->count < 2) log_run(l);
    assert_int_equal(publish(t, "x", NULL), DEDUP_REPEATED);
    buf_free(&x);
}

/* However many there were: what is remembered is among the last ones. */
static void filling_ends(void **state)
{
    topic_t *t = topic("a", datagram);
    window_t *w;
    buf_t x = event("x", NULL, 0), marked = { NULL, 0, 0, 0 };
    (void)state;

    assert_int_equal(publish(t, "x", NULL), DEDUP_NEW);
    assert_int_equal(publish(t, "y", NULL), DEDUP_NEW);
    dedup_window_close(window);
    open_window();
    assert_int_equal(ask(t, &x, &marked), DEDUP_LATER);
    w = window->windows[t->index];
    w->read.until = FILL_MOST + 100;            /* as if so many had come behind */
    assert_int_equal(ask_until(t, &x, &marked), DEDUP_NEW);
    assert_true(w->read.after >= 100);
    buf_free(&x);
    buf_free(&marked);
}

/* A publisher may call an event a duplicate itself: it stays as it is, and is no original. */
static void what_is_marked_already_is_left_alone(void **state)
{
    topic_t *t = topic("a", datagram);
    buf_t x = event("x", NULL, 0), own = { NULL, 0, 0, 0 }, marked = own;
    msg_event_wrapper_t w;
    (void)state;

    assert_true(msg_decode(MSG_EVENT_WRAPPER, &w, buf_bytes(&x)));
    w.is_duplicate = true;
    w.duplicate_id = slice_text("0123456789");
    assert_true(msg_put(&own, MSG_EVENT_WRAPPER, &w));
    assert_int_equal(ask_until(t, &own, &marked), DEDUP_NEW);
    append(t, buf_bytes(&own));
    assert_int_equal(ask(t, &own, &marked), DEDUP_NEW);
    assert_int_equal(publish(t, "x", NULL), DEDUP_NEW);
    buf_free(&x);
    buf_free(&own);
    buf_free(&marked);
}

static void the_oldest_are_forgotten(void **state)
{
    topic_t *t = topic("a", datagram), *other = topic("b", datagram);
    buf_t x = event("x", NULL, 0), large = { NULL, 0, 0, 0 }, marked = large;
    char *pair = x_alloc(OUTLINE_MAX + 1);
    dedup_digest_t digest;
    window_t *w;
    rlid_t id = { { 0 } };
    (void)state;

    assert_int_equal(publish(t, "x", NULL), DEDUP_NEW);
    assert_int_equal(publish(other, "x", NULL), DEDUP_NEW);
    w = window->windows[t->index];
    memset(&digest, 0, sizeof digest);
    for (uint32_t i = 1; i < ENTRIES_OF_TOPIC; i++) {
        for (unsigned k = 0; k < 4; k++) digest.all[7 - k] = (uint8_t)(i >> 8 * k & 0xff);
        add(w, &digest, buf_bytes(&x), &id, test_clock());
    }
    assert_int_equal(publish(t, "x", NULL), DEDUP_REPEATED);
    assert_int_equal(publish(t, "y", NULL), DEDUP_NEW);
    assert_int_equal(w->count, ENTRIES_OF_TOPIC);
    assert_int_equal(publish(t, "x", NULL), DEDUP_NEW);
    assert_int_equal(publish(other, "x", NULL), DEDUP_REPEATED);

    window->entries = ENTRIES_IN_ALL;           /* the others fill it up: this one gives its own */
    assert_int_equal(publish(t, "z", NULL), DEDUP_NEW);
    assert_int_equal(publish(t, "z", NULL), DEDUP_REPEATED);
    assert_int_equal(w->count, ENTRIES_OF_TOPIC);
    assert_int_equal(window->entries, ENTRIES_IN_ALL);

    memset(pair, 'v', OUTLINE_MAX);
    pair[0] = 'k';
    large = event("large", pair, 0);
    for (int i = 0; i < 2; i++) assert_int_equal(ask(t, &large, &marked), DEDUP_NEW);
    buf_free(&x);
    buf_free(&large);
    buf_free(&marked);
    free(pair);
}

static void a_topic_that_goes_is_forgotten(void **state)
{
    topic_t *t = topic("a", datagram);
    buf_t key = { NULL, 0, 0, 0 };
    (void)state;

    assert_int_equal(publish(t, "x", NULL), DEDUP_NEW);
    topic_record_key(&project, slice_text("a"), &key);
    assert_true(log_put_now(l, buf_bytes(&key), slice_of(NULL, 0), &why));
    dedup_window_changed(window, t);
    assert_int_equal(window->entries, 0);
    assert_int_equal(window->bytes, 0);
    buf_free(&key);
    t = topic("a", datagram);
    assert_int_equal(publish(t, "x", NULL), DEDUP_NEW);
}

/* Nothing that is under way may come back to it. */
static void it_can_be_closed_at_any_time(void **state)
{
    topic_t *t = topic("a", datagram);
    buf_t x = event("x", NULL, 0), marked = { NULL, 0, 0, 0 };
    (void)state;

    assert_int_equal(ask(t, &x, &marked), DEDUP_LATER);
    dedup_window_close(window);
    for (int i = 0; i < 50; i++) log_run(l);
    open_window();
    assert_int_equal(ask(t, &x, &marked), DEDUP_LATER);
    dedup_window_changed(window, t);
    for (int i = 0; i < 50; i++) log_run(l);
    assert_int_equal(ask_until(t, &x, &marked), DEDUP_NEW);
    buf_free(&x);
    buf_free(&marked);
}

static char seeds[][2] = { "1", "2" };
#define OVER(log, test) { log ": " #test, test, open_log, close_log, NULL }
#define LATE(n, test) { "late log: " #test, test, open_log, close_log, seeds[n] }
#define ALL(test) OVER("log", test), LATE(0, test), LATE(1, test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL(a_copy_is_marked),
        ALL(without_a_policy_nothing_is_looked_at),
        ALL(each_strategy_marks_as_a_policy_that_is_set),
        ALL(a_copy_waits_for_its_original),
        ALL(a_failed_original_is_none),
        ALL(it_ends_with_the_window),
        ALL(a_restart_changes_nothing),
        ALL(the_policy_of_now_counts),
        ALL(events_of_others_are_seen),
        OVER("log", filling_ends),
        ALL(what_is_marked_already_is_left_alone),
        ALL(the_oldest_are_forgotten),
        ALL(a_topic_that_goes_is_forgotten),
        ALL(it_can_be_closed_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
