/* ensignd_log.c - the promises of log.h, kept by each engine: SQLite in memory and in a folder, the late
 * engine with some seeds, and NATS where nats-server is there; and by the front, over an engine whose answers
 * the test gives */
#include "logs.h"
#include "nats_server.h"

static char folder[] = "/tmp/ensignd_log.XXXXXX";

typedef struct engine_t { const log_engine_t *engine; const char *where; } engine_t;

static const engine_t engines[] = { { &log_sqlite, NULL }, { &log_sqlite, folder }, { &log_late, "1" },
                                    { &log_late, "2" },    { &log_late, "3" },      { &log_late, "77" },
                                    { &log_nats, nats_server.url } };
static const engine_t *used;

/* What it has is there when it is opened again. */
static bool keeps(void)
{
    return used->where == folder || used->engine == &log_nats;
}

static void open_used(void)
{
    logs = log_open(used->engine, used->where, LOG_WRITE, TIMEOUT_MS, &why);
    if (!logs) fail_msg("%s", why.text);
}

static int open_one(void **state)
{
    static char prefix[32];
    static unsigned number;

    used = *state;
    clock_runs = used->engine == &log_nats;
    if (clock_runs) {
        if (!nats_is_up()) return 0; /* the test is skipped */
        snprintf(prefix, sizeof prefix, "test%u", ++number);
        log_nats_set(prefix, 0, 0);
    }
    open_used();
    return 0;
}

static int close_one(void **state)
{
    (void)state;
    log_close(logs);
    logs = NULL;
    if (used->where == folder) {
        remove_folder(folder);
        return mkdir(folder, 0700);
    }
    return 0;
}

/* ---- reading */

enum { EVENTS = 60 };

/* What was appended by append_many, in order. */
typedef struct kept_t { char topic; char text[24]; uint64_t offset; rlid_t id; } kept_t;
static kept_t kept[EVENTS];

static void append_many(char project)
{
    for (size_t i = 0; i < EVENTS; i++) {
        kept[i].topic = (char)('a' + i * i % 7 % 3);
        snprintf(kept[i].text, sizeof kept[i].text, "%0*zu", (int)(1 + i % 20), i);
        kept[i].offset = append_text(project, kept[i].topic, kept[i].text);
    }
}

static log_read_t read_of(char project, uint64_t after, uint64_t until)
{
    log_read_t r;

    memset(&r, 0, sizeof r);
    r.project = id_of(project);
    r.after = after;
    r.until = until;
    r.most_events = SIZE_MAX;
    return r;
}

/* Reads to the end, page by page, and compares with the kept events `first` to `end`, those of `topics`
   alone; NULL: all. Keeps the ids when they come. */
static void reads(log_read_t r, size_t first, size_t end, const char *topics)
{
    ulid_t ids[3];
    size_t i = first;

    for (r.topic_count = 0; topics && topics[r.topic_count]; r.topic_count++)
        ids[r.topic_count] = id_of(topics[r.topic_count]);
    r.topics = ids;
    for (r.end = false; !r.end; r.after = r.reached, r.by_id = false) {
        uint64_t after = r.by_id ? 0 : r.after;
        ANSWER(log_read, &r);
        assert_int_equal(r.base.result, LOG_OK);
        assert_true(r.count <= r.most_events);
        assert_true(r.reached > after || r.end);
        for (size_t k = 0; k < r.count; k++, i++) {
            const log_event_t *e = &r.events[k];
            while (i < end && topics && !strchr(topics, kept[i].topic)) i++;
            if (i >= end) fail_msg("event %" PRIu64 " is not expected", e->offset);
            assert_int_equal(e->offset, kept[i].offset);
            assert_true(e->offset > after && e->offset <= r.reached && e->offset <= r.until);
            assert_true(slice_is(e->value, kept[i].text));
            assert_int_equal(e->topic.b[15], kept[i].topic);
            assert_true(e->committed.seconds > 1500000000);
            kept[i].id = e->id;
        }
    }
    while (i < end && topics && !strchr(topics, kept[i].topic)) i++;
    assert_int_equal(i, end);
}

static void what_was_appended_is_read(void **state)
{
    const ulid_t p = id_of('p'), none = id_of('n');
    const uint8_t *b;
    (void)state;

    append_many('p');
    append_text('q', 'a', "of another project");
    reads(read_of('p', 0, UINT64_MAX), 0, EVENTS, NULL);
    for (size_t i = 1; i < EVENTS; i++) {
        assert_true(kept[i].offset > kept[i - 1].offset);
        assert_true(memcmp(&kept[i].id, &kept[i - 1].id, sizeof kept[i].id) > 0);
    }
    assert_true(kept[0].offset >= 1);
    if (used->engine == &log_sqlite) assert_int_equal(kept[0].offset, 1);
    assert_int_equal(log_last(logs, &none), 0);
    assert_int_equal(log_last(logs, &p), kept[EVENTS - 1].offset);
    /* The id is a time in ms, and the low 32 bits of the offset. */
    b = kept[EVENTS - 1].id.b;
    assert_int_equal((uint32_t)b[6] << 24 | (uint32_t)b[7] << 16 | (uint32_t)b[8] << 8 | b[9],
                     (uint32_t)kept[EVENTS - 1].offset);
}

static void a_read_is_of_a_range(void **state)
{
    (void)state;
    append_many('p');
    reads(read_of('p', kept[9].offset, UINT64_MAX), 10, EVENTS, NULL);
    reads(read_of('p', 0, kept[9].offset), 0, 10, NULL);
    reads(read_of('p', kept[9].offset, kept[9].offset), 10, 10, NULL);
    reads(read_of('p', kept[9].offset, kept[10].offset), 10, 11, NULL);
    reads(read_of('p', kept[20].offset, kept[9].offset), 10, 10, NULL);
    reads(read_of('p', UINT64_MAX, UINT64_MAX), 0, 0, NULL);
    reads(read_of('p', 0, 0), 0, 0, NULL);
    reads(read_of('q', 0, UINT64_MAX), 0, 0, NULL);
}

/* `reached` never goes beyond what there is: what is appended later must not be skipped. */
static void reached_is_a_place_to_go_on_from(void **state)
{
    log_read_t r = read_of('p', 0, UINT64_MAX);
    (void)state;

    append_many('p');
    for (r.end = false; !r.end; r.after = r.reached) ANSWER(log_read, &r);
    assert_int_equal(r.reached, kept[EVENTS - 1].offset);
    assert_true(append_text('p', 'a', "later") > r.reached);
    r.until = kept[5].offset;
    for (r.end = false, r.after = 0; !r.end; r.after = r.reached) ANSWER(log_read, &r);
    assert_int_equal(r.reached, kept[5].offset);
}

static void pages_put_together_are_the_whole(void **state)
{
    static const size_t sizes[] = { 1, 2, 7, EVENTS - 1, EVENTS };
    (void)state;

    append_many('p');
    for (size_t i = 0; i < COUNT(sizes); i++) {
        log_read_t r = read_of('p', 0, UINT64_MAX);
        r.most_events = sizes[i];
        reads(r, 0, EVENTS, NULL);
        reads(r, 0, EVENTS, "b");
    }
}

static void a_page_has_its_bytes_and_one_event_more(void **state)
{
    log_read_t r = read_of('p', 0, UINT64_MAX);
    (void)state;

    append_many('p');
    for (r.most_bytes = 1; r.most_bytes < 100; r.most_bytes += 13) {
        for (r.after = 0, r.end = false; !r.end; r.after = r.reached) {
            size_t bytes = 0;
            ANSWER(log_read, &r);
            for (size_t i = 0; i + 1 < r.count; i++) bytes += r.events[i].value.len;
            assert_true(bytes < r.most_bytes);
        }
        reads(read_of('p', 0, UINT64_MAX), 0, EVENTS, NULL);
    }
}

static void a_read_is_of_the_topics_that_it_names(void **state)
{
    static const char *const topics[] = { "a", "b", "c", "ab", "ac", "bc", "abc" };
    (void)state;

    append_many('p');
    for (size_t i = 0; i < COUNT(topics); i++) reads(read_of('p', 0, UINT64_MAX), 0, EVENTS, topics[i]);
    reads(read_of('p', kept[30].offset, UINT64_MAX), 31, EVENTS, "b");
    reads(read_of('p', 0, UINT64_MAX), EVENTS, EVENTS, "z");
}

static void a_read_begins_at_an_id(void **state)
{
    log_read_t r = read_of('p', 0, UINT64_MAX);
    (void)state;

    append_many('p');
    reads(r, 0, EVENTS, NULL);          /* brings the ids */
    r.by_id = true;
    reads(r, 0, EVENTS, NULL);
    r.id = kept[17].id;
    reads(r, 17, EVENTS, NULL);
    reads(r, 17, EVENTS, "c");
    r.most_events = 3;
    reads(r, 17, EVENTS, NULL);
    r.until = kept[20].offset;
    reads(r, 17, 21, NULL);
    r.until = kept[3].offset;
    reads(r, 4, 4, NULL);
    memset(&r.id, 0xff, sizeof r.id);
    r.until = UINT64_MAX;
    reads(r, EVENTS, EVENTS, NULL);
}

static void a_value_may_be_empty_or_large(void **state)
{
    log_read_t r = read_of('p', 0, UINT64_MAX);
    uint8_t *large = x_alloc(1 << 20);
    size_t count = 0;
    (void)state;

    for (size_t i = 0; i < 1 << 20; i++) large[i] = (uint8_t)(i * 7 / 3);
    append_text('p', 'a', "");
    append_bytes('p', 'a', slice_of(large, 1 << 20));
    for (r.end = false; !r.end; r.after = r.reached) {
        ANSWER(log_read, &r);
        for (size_t i = 0; i < r.count; i++)
            assert_true(slice_eq(r.events[i].value, slice_of(large, count++ ? 1 << 20 : 0)));
    }
    assert_int_equal(count, 2);
    free(large);
}

/* ---- appending */

enum { BATCHES = 40, BATCH_MOST = 5 };

typedef struct batch_t { log_append_t r; log_new_t events[BATCH_MOST]; char text[BATCH_MOST][16]; } batch_t;
static batch_t batches[2][BATCHES]; /* of two projects */
static size_t answered[2];

static void batch_done(log_request_t *base)
{
    batch_t *b = base->user;
    int project = b->r.project.b[0] == 'q';
    uint64_t before = answered[project] ? batches[project][answered[project] - 1].events[0].offset : 0;

    assert_ptr_equal(b, &batches[project][answered[project]]);
    assert_int_equal(base->result, LOG_OK);
    assert_true(b->r.committed.seconds > 1500000000);
    for (size_t i = 0; i < b->r.count; i++) {
        assert_true(b->events[i].offset > before);
        before = b->events[i].offset;
    }
    answered[project]++;
}

static void ask_batch(int project, size_t n)
{
    batch_t *b = &batches[project][n];

    memset(b, 0, sizeof *b);
    b->r.base.done = batch_done;
    b->r.base.user = b;
    b->r.project = id_of(project ? 'q' : 'p');
    b->r.events = b->events;
    b->r.count = 1 + n % BATCH_MOST;
    for (size_t i = 0; i < b->r.count; i++) {
        snprintf(b->text[i], sizeof b->text[i], "%zu.%zu", n, i);
        b->events[i].topic = id_of((char)('a' + i % 3));
        b->events[i].value = slice_text(b->text[i]);
    }
    log_append(logs, &b->r);
}

/* All that was asked for is in the log in this order, once. */
static void log_has_batches(int project)
{
    log_read_t r = read_of(project ? 'q' : 'p', 0, UINT64_MAX);
    size_t n = 0, i = 0;

    for (r.end = false; !r.end; r.after = r.reached) {
        ANSWER(log_read, &r);
        for (size_t k = 0; k < r.count; k++) {
            const batch_t *b = &batches[project][n];
            assert_true(n < BATCHES);
            assert_int_equal(r.events[k].offset, b->events[i].offset);
            assert_true(slice_is(r.events[k].value, b->text[i]));
            if (++i == b->r.count) n++, i = 0;
        }
    }
    assert_int_equal(n, BATCHES);
}

static void appends_are_answered_in_order_and_stored_once(void **state)
{
    (void)state;
    answered[0] = answered[1] = 0;
    for (size_t n = 0; n < BATCHES; n++) {
        ask_batch(0, n);
        ask_batch(1, n);
        if (n % 3 == 0) turn();
        assert_true(log_healthy(logs));
        assert_false(log_full(logs));
    }
    turn_all();
    assert_int_equal(answered[0], BATCHES);
    assert_int_equal(answered[1], BATCHES);
    log_has_batches(0);
    log_has_batches(1);
}

static size_t chain;

/* Asks with the same memory again, from inside its answer. */
static void ask_again(log_request_t *base)
{
    log_append_t *r = base->user;
    assert_int_equal(base->result, LOG_OK);
    assert_true(r->events[0].offset > 0);
    r->events[0].offset = 0;
    if (++chain < 20) log_append(logs, r);
    else free(r);
}

static void an_answer_may_ask_again(void **state)
{
    log_append_t *r = x_alloc(sizeof *r);
    log_new_t event = { id_of('a'), slice_text("x"), 0, { NULL, 0 } };
    log_read_t all = read_of('p', 0, UINT64_MAX);
    size_t count = 0;
    (void)state;

    chain = 0;
    r->base.done = ask_again;
    r->base.user = r;
    r->project = id_of('p');
    r->events = &event;
    r->count = 1;
    log_append(logs, r);
    turn_all();
    assert_int_equal(chain, 20);
    for (all.end = false; !all.end; all.after = all.reached) {
        ANSWER(log_read, &all);
        count += all.count;
    }
    assert_int_equal(count, 20);
}

/* ---- amending and destroying */

static void amend_replaces_one_value(void **state)
{
    log_amend_t r;
    (void)state;

    assert_true(log_can_amend(logs));
    append_many('p');
    memset(&r, 0, sizeof r);
    r.project = id_of('p');
    r.topic = id_of(kept[8].topic);
    r.offset = kept[8].offset;
    r.value = slice_text("amended");
    ANSWER(log_amend, &r);
    assert_int_equal(r.base.result, LOG_OK);
    assert_true(r.found);
    strcpy(kept[8].text, "amended");
    reads(read_of('p', 0, UINT64_MAX), 0, EVENTS, NULL);
    r.topic = id_of('z');
    ANSWER(log_amend, &r);
    assert_int_equal(r.base.result, LOG_OK);
    assert_false(r.found);
    r.topic = id_of(kept[8].topic);
    r.offset = kept[EVENTS - 1].offset + 1;
    ANSWER(log_amend, &r);
    assert_false(r.found);
    reads(read_of('p', 0, UINT64_MAX), 0, EVENTS, NULL);
}

static void destroy_takes_one_topic(char topic)
{
    log_destroy_t r;

    memset(&r, 0, sizeof r);
    r.project = id_of('p');
    r.topic = id_of(topic);
    ANSWER(log_destroy, &r);
    assert_int_equal(r.base.result, LOG_OK);
}

static void a_destroyed_topic_leaves_the_others(void **state)
{
    ulid_t p = id_of('p');
    uint64_t last, other;
    (void)state;

    append_many('p');
    other = append_text('q', 'c', "of another project");
    last = log_last(logs, &p);
    destroy_takes_one_topic('c');
    reads(read_of('p', 0, UINT64_MAX), EVENTS, EVENTS, "c");
    reads(read_of('p', 0, UINT64_MAX), 0, EVENTS, "ab");
    assert_int_equal(log_last(logs, &p), last);
    kept[0].offset = other;
    strcpy(kept[0].text, "of another project");
    kept[0].topic = 'c';
    reads(read_of('q', 0, UINT64_MAX), 0, 1, NULL);
    destroy_takes_one_topic('c');
    destroy_takes_one_topic('b');
    destroy_takes_one_topic('a');
    assert_int_equal(log_last(logs, &p), last);
    reads(read_of('p', 0, UINT64_MAX), 0, 0, NULL);
    assert_true(append_text('p', 'c', "again") > last);
}

/* ---- following */

typedef struct heard_t { log_follow_t f; uint64_t first, last; size_t count; size_t most; } heard_t;

static void hear(log_follow_t *f, const log_event_t *events, size_t count)
{
    heard_t *h = f->user;

    assert_true(count > 0);
    for (size_t i = 0; i < count; i++) {
        assert_true(events[i].offset > h->last);
        if (!h->count++) h->first = events[i].offset;
        h->last = events[i].offset;
        assert_true(events[i].value.len > 0);
        assert_true(events[i].committed.seconds > 1500000000);
    }
    if (h->most && h->count >= h->most) log_unfollow(logs, f);
}

static void begin(heard_t *h, char project)
{
    memset(h, 0, sizeof *h);
    h->f.project = id_of(project);
    h->f.events = hear;
    h->f.user = h;
    log_follow(logs, &h->f);
}

static void followers_hear_all_from_where_they_began(void **state)
{
    static heard_t early, late, other, brief;
    uint64_t offsets[60];
    (void)state;

    begin(&early, 'p');
    begin(&other, 'q');
    for (size_t i = 0; i < 60; i++) {
        if (i == 20) begin(&late, 'p');
        if (i == 40) {
            begin(&brief, 'p');
            brief.most = 5;
        }
        offsets[i] = append_text('p', 'a', "x");
    }
    turn_all();
    assert_int_equal(early.count, 60);
    assert_int_equal(early.first, offsets[0]);
    assert_int_equal(early.f.from, offsets[59]);
    assert_int_equal(late.count, 40);
    assert_int_equal(late.first, offsets[20]);
    assert_int_equal(late.last, offsets[59]);
    assert_int_equal(brief.first, offsets[40]);
    assert_in_range(brief.count, 5, 20);
    assert_int_equal(other.count, 0);
    log_unfollow(logs, &early.f);
    log_unfollow(logs, &late.f);
    append_text('p', 'a', "x");
    turn_all();
    assert_int_equal(early.count, 60);
    begin(&early, 'p');
    assert_true(early.f.from > offsets[59]);
    append_text('p', 'a', "x");
    turn_all();
    assert_int_equal(early.count, 1);
    log_unfollow(logs, &early.f);
    log_unfollow(logs, &other.f);
}

/* What was answered before a follower began is not told to it, and what is answered later is: even where the
   answers are under way. */
static void a_follower_that_begins_amid_appends_misses_none(void **state)
{
    static heard_t h;
    uint64_t from = 0;
    size_t wanted = 0;
    (void)state;

    answered[0] = 0;
    for (size_t n = 0; n < BATCHES; n++) {
        ask_batch(0, n);
        if (n % 5 == 0) turn();
        if (n != BATCHES / 2) continue;
        begin(&h, 'p');
        from = h.f.from;
    }
    turn_all();
    for (size_t n = 0; n < BATCHES; n++)
        for (size_t i = 0; i < batches[0][n].r.count; i++) wanted += batches[0][n].events[i].offset > from;
    assert_int_equal(h.count, wanted);
    assert_true(wanted > BATCHES / 2);
    log_unfollow(logs, &h.f);
}

static heard_t pair[2];

static void leave_together(log_follow_t *f, const log_event_t *events, size_t count)
{
    heard_t *h = f->user;
    (void)events;
    h->count += count;
    log_unfollow(logs, &pair[0].f);
    log_unfollow(logs, &pair[1].f);
    memset(&pair[0].f, 0xa5, sizeof pair[0].f);
    memset(&pair[1].f, 0xa5, sizeof pair[1].f);
}

static void a_follower_may_end_another_one(void **state)
{
    (void)state;
    begin(&pair[0], 'p');
    begin(&pair[1], 'p');
    pair[0].f.events = pair[1].f.events = leave_together;
    append_text('p', 'a', "x");
    turn_all();
    append_text('p', 'a', "x");
    turn_all();
    assert_int_equal(pair[0].count + pair[1].count, 1);
}

/* ---- metadata */

static bool join(void *user, ensign_slice_t key, ensign_slice_t value)
{
    buf_t *out = user;
    buf_put(out, key.ptr, key.len);
    buf_put(out, "=", 1);
    buf_put(out, value.ptr, value.len);
    buf_put(out, " ", 1);
    return true;
}

static void holds(const char *prefix, const char *wanted)
{
    buf_t b = { NULL, 0, 0, 0 };

    log_each(logs, prefix, join, &b);
    buf_put(&b, "", 1);
    assert_string_equal(b.ptr, wanted);
    buf_free(&b);
}

static bool first_alone(void *user, ensign_slice_t key, ensign_slice_t value)
{
    join(user, key, value);
    return false;
}

static void records_stand_in_order_of_their_keys(void **state)
{
    buf_t b = { NULL, 0, 0, 0 };
    (void)state;

    assert_int_equal(put_text("ord/b", "2", 0), LOG_OK);
    assert_int_equal(put_text("ord/a", "1", 0), LOG_OK);
    assert_int_equal(put_text("ore", "3", 0), LOG_OK);
    assert_int_equal(put_text("or", "0", 0), LOG_OK);
    assert_int_equal(put_text("ord/b", "4", LOG_ANY_REVISION), LOG_OK);
    holds("ord/", "ord/a=1 ord/b=4 ");
    holds("or", "or=0 ord/a=1 ord/b=4 ore=3 ");
    holds("none", "");
    log_each(logs, "ord", first_alone, &b);
    assert_true(slice_is(buf_bytes(&b), "ord/a=1 "));
    buf_free(&b);
    assert_int_equal(put_text("ord/a", "", LOG_ANY_REVISION), LOG_OK);
    holds("ord", "ord/b=4 ");
}

static void keys_and_values_are_bytes(void **state)
{
    static const char key[] = "\xff\0\xfe", value[] = "\0\xff";
    log_put_t r = put_of("", "", 0);
    ensign_slice_t got;
    uint64_t revision;
    (void)state;

    r.key = slice_of(key, 3);
    r.value = slice_of(value, 2);
    ANSWER(log_put, &r);
    assert_int_equal(r.base.result, LOG_OK);
    assert_true(log_get(logs, slice_of(key, 3), &got, &revision));
    assert_true(slice_eq(got, slice_of(value, 2)));
    assert_int_equal(revision, r.revision);
    assert_false(log_get(logs, slice_of(key, 1), &got, &revision));
    assert_false(log_get(logs, slice_of(key, 2), &got, &revision));
}

static uint64_t revision_of(const char *key)
{
    ensign_slice_t value;
    uint64_t revision;
    return log_get(logs, slice_text(key), &value, &revision) ? revision : 0;
}

static void a_put_needs_the_revision_that_is_there(void **state)
{
    uint64_t first, second;
    (void)state;

    assert_int_equal(put_text("k", "1", 7), LOG_CHANGED);
    assert_int_equal(put_text("k", "1", 0), LOG_OK);
    first = revision_of("k");
    assert_true(first != 0 && first != LOG_ANY_REVISION);
    assert_int_equal(put_text("k", "2", 0), LOG_CHANGED);
    holds("k", "k=1 ");
    assert_int_equal(put_text("k", "2", first), LOG_OK);
    second = revision_of("k");
    assert_true(second != first);
    assert_int_equal(put_text("k", "3", first), LOG_CHANGED);
    assert_int_equal(put_text("k", "", first), LOG_CHANGED);
    holds("k", "k=2 ");
    assert_int_equal(put_text("k", "", second), LOG_OK);
    holds("k", "");
    assert_int_equal(put_text("k", "4", second), LOG_CHANGED);
    assert_int_equal(put_text("k", "4", 0), LOG_OK);
    assert_true(revision_of("k") != first && revision_of("k") != second);
    assert_int_equal(put_text("none", "", LOG_ANY_REVISION), LOG_OK);
    holds("", "k=4 ");
}

typedef struct racer_t { log_put_t r; char value[16]; bool done; } racer_t;

static void raced(log_request_t *r)
{
    ((racer_t *)r->user)->done = true;
    /* That of the winner is known by then. */
    if (r->result == LOG_CHANGED) assert_int_not_equal(revision_of("k"), 0);
}

static void one_of_those_that_race_wins(void **state)
{
    static racer_t racers[10];
    size_t won = 0;
    (void)state;

    for (size_t i = 0; i < COUNT(racers); i++) {
        snprintf(racers[i].value, sizeof racers[i].value, "%zu", i);
        racers[i].r = put_of("k", racers[i].value, 0);
        racers[i].r.base.done = raced;
        racers[i].r.base.user = &racers[i];
        racers[i].done = false;
        log_put(logs, &racers[i].r);
        if (i % 4 == 3) turn();
    }
    turn_all();
    for (size_t i = 0; i < COUNT(racers); i++) {
        ensign_slice_t value;
        uint64_t revision;
        assert_true(racers[i].done);
        if (racers[i].r.base.result == LOG_CHANGED) continue;
        assert_int_equal(racers[i].r.base.result, LOG_OK);
        assert_true(log_get(logs, slice_text("k"), &value, &revision));
        assert_true(slice_is(value, racers[i].value));
        assert_int_equal(revision, racers[i].r.revision);
        won++;
    }
    assert_int_equal(won, 1);
}

static buf_t seen;

static void see(void *user, ensign_slice_t key, ensign_slice_t value)
{
    ensign_slice_t now;
    uint64_t revision;

    assert_ptr_equal(user, &seen);
    assert_int_equal(log_get(logs, key, &now, &revision), value.len > 0);   /* it is there already */
    if (value.len) assert_true(slice_eq(now, value));
    join(&seen, key, value);
}

static void has_seen(log_request_t *r)
{
    *(bool *)r->user = true;
    assert_true(buf_len(&seen) > 0);
    assert_memory_equal(seen.ptr + seen.end - 4, "a=1 ", 4);
}

static void a_watch_hears_before_the_answer(void **state)
{
    static log_watch_t all, some;
    log_put_t r = put_of("w/a", "1", 0);
    bool done = false;
    (void)state;

    memset(&seen, 0, sizeof seen);
    all.prefix = "w/";
    some.prefix = "nothing of this";
    all.changed = some.changed = see;
    all.user = &seen;
    log_watch(logs, &all);
    log_watch(logs, &some);
    r.base.done = has_seen;
    r.base.user = &done;
    log_put(logs, &r);
    turn_all();
    assert_true(done);
    assert_int_equal(put_text("w/a", "2", 0), LOG_CHANGED);
    assert_int_equal(put_text("w/a", "3", LOG_ANY_REVISION), LOG_OK);
    assert_int_equal(put_text("w", "4", 0), LOG_OK);
    assert_int_equal(put_text("w/b", "5", 0), LOG_OK);
    assert_int_equal(put_text("w/a", "", LOG_ANY_REVISION), LOG_OK);
    assert_true(slice_is(buf_bytes(&seen), "w/a=1 w/a=3 w/b=5 w/a= "));
    buf_free(&seen);
}

/* ---- giving up, and closing */

static void never(log_request_t *r)
{
    (void)r;
    fail_msg("a request that was cancelled is answered");
}

enum { CANCELS = 4 };

/* One request of each kind that may be cancelled, in memory of its own. */
typedef struct each_t { log_read_t read; log_amend_t amend; log_destroy_t destroy; log_put_t put; } each_t;

static each_t *ask_each(void (*done)(log_request_t *))
{
    each_t *e = x_alloc(sizeof *e);

    e->read = read_of('p', 0, UINT64_MAX);
    e->amend.project = e->destroy.project = id_of('p');
    e->amend.topic = id_of('a');
    e->amend.offset = 1;
    e->amend.value = slice_text("amended");
    e->destroy.topic = id_of('b');
    e->put = put_of("cancelled", "1", LOG_ANY_REVISION);
    e->read.base.done = e->amend.base.done = e->destroy.base.done = e->put.base.done = done;
    log_read(logs, &e->read);
    log_amend(logs, &e->amend);
    log_destroy(logs, &e->destroy);
    log_put(logs, &e->put);
    return e;
}

static size_t counted;

static void count(log_request_t *r)
{
    if (r->user) *(bool *)r->user = true;
    counted++;
}

static void after_cancel_no_answer_comes(void **state)
{
    size_t before;
    (void)state;
    append_many('p');
    for (int turns = 0; turns < 12; turns++) {
        each_t *e = ask_each(count);
        log_request_t *each[CANCELS] = { &e->read.base, &e->amend.base, &e->destroy.base, &e->put.base };
        bool done_with[CANCELS] = { false };
        counted = 0;
        for (size_t i = 0; i < CANCELS; i++) each[i]->user = &done_with[i];
        for (int i = 0; i < turns; i++) turn();
        for (size_t i = 0; i < CANCELS; i++) {
            if (done_with[i]) continue;
            each[i]->done = never;
            log_cancel(logs, each[i]);
        }
        free(e);
        before = counted;
        turn_all();
        assert_int_equal(counted, before);
    }
}

/* The memory of a request may be another's before its neighbour is cancelled. */
static void once_stopped_memory_may_go(void **state)
{
    each_t *e = ask_each(never), copy;
    (void)state;

    log_stop(logs);
    memset(&e->read, 0xa5, sizeof e->read);
    memset(&e->destroy, 0xa5, sizeof e->destroy);
    memcpy(&copy, e, sizeof copy);
    log_cancel(logs, &e->amend.base);
    log_cancel(logs, &e->put.base);
    assert_memory_equal(&copy, e, sizeof copy);
    free(e);
}

static each_t *ended;

/* The first answer takes all the others back. */
static void end_others(log_request_t *base)
{
    log_request_t *each[CANCELS] = { &ended->read.base, &ended->amend.base, &ended->destroy.base,
                                     &ended->put.base };

    for (size_t i = 0; i < CANCELS; i++)
        if (each[i] != base) log_cancel(logs, each[i]);
    free(ended);
    counted++;
}

static void an_answer_may_cancel_others(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        counted = 0;
        ended = ask_each(end_others);
        turn_all();
        assert_int_equal(counted, 1);
    }
}

static void what_waits_at_the_close_gets_no_answer(void **state)
{
    each_t *e[6];
    log_append_t *r = x_alloc(sizeof *r);
    log_new_t event = { id_of('a'), slice_text("x"), 0, { NULL, 0 } };
    (void)state;

    for (size_t i = 0; i < COUNT(e); i++) {
        e[i] = ask_each(i < 3 ? count : never);
        if (i < 2) turn();
    }
    r->base.done = never;
    r->project = id_of('p');
    r->events = &event;
    r->count = 1;
    log_append(logs, r);
    log_close(logs);
    for (size_t i = 0; i < COUNT(e); i++) free(e[i]);
    free(r);
    open_used();
}

/* ---- opening again */

static void epochs_tell_logs_apart(void **state)
{
    ulid_t p = id_of('p');
    uint64_t epoch;
    (void)state;

    append_many('p');
    epoch = log_epoch(logs, &p);
    assert_int_not_equal(epoch, 0);
    turn_all();
    assert_int_equal(log_epoch(logs, &p), epoch);
    log_close(logs);
    open_used();
    if (keeps()) {
        append_text('p', 'b', "y");     /* now the log has heard of its project */
        assert_int_equal(log_epoch(logs, &p), epoch);
        assert_true(log_last(logs, &p) > kept[EVENTS - 1].offset);
    } else {
        assert_int_equal(log_last(logs, &p), 0);
        append_text('p', 'a', "x");
        assert_int_not_equal(log_epoch(logs, &p), epoch);
    }
}

static void what_was_answered_lasts(void **state)
{
    uint64_t revision;
    (void)state;

    append_many('p');
    put_text("k", "1", 0);
    put_text("gone", "1", 0);
    put_text("gone", "", LOG_ANY_REVISION);
    revision = revision_of("k");
    log_close(logs);
    open_used();
    reads(read_of('p', 0, UINT64_MAX), 0, EVENTS, NULL);
    holds("", "k=1 ");
    assert_int_equal(revision_of("k"), revision);
    assert_int_equal(put_text("k", "2", revision), LOG_OK);
    destroy_takes_one_topic('a');
    destroy_takes_one_topic('b');
    destroy_takes_one_topic('c');
    log_close(logs);
    open_used();
    assert_true(append_text('p', 'a', "x") > kept[EVENTS - 1].offset);  /* though the log was empty */
}

static void one_process_writes_and_others_read(void **state)
{
    log_t *writer = logs;
    ensign_slice_t value;
    uint64_t revision;
    (void)state;

    append_many('p');
    put_text("k", "1", 0);
    logs = log_open(&log_sqlite, folder, LOG_READ, TIMEOUT_MS, &why);
    assert_non_null(logs);
    reads(read_of('p', 0, UINT64_MAX), 0, EVENTS, NULL);
    assert_true(log_get(logs, slice_text("k"), &value, &revision));
    log_close(logs);
    logs = writer;
}

static void a_seed_is_a_number(void **state)
{
    static const char *const wrong[] = { "", "x", "1x", "99999999999999999999" };
    (void)state;

    for (size_t i = 0; i < COUNT(wrong); i++) {
        why.text[0] = '\0';
        assert_null(log_open(&log_late, wrong[i], LOG_WRITE, TIMEOUT_MS, &why));
        assert_non_null(strstr(why.text, wrong[i]));
        assert_non_null(strstr(why.text, "give one"));
    }
}

/* ---- the front, over an engine that answers when the test says so */

enum { HANDED_MOST = 4096 };
static struct { log_request_t *requests[HANDED_MOST]; size_t count; log_t *front; } hand;

static void *hand_open(log_t *front, const char *where, log_mode_t mode, why_t *reason)
{
    (void)where;
    (void)mode;
    (void)reason;
    hand.count = 0;
    hand.front = front;
    return &hand;
}

static void hand_over(log_request_t *r)
{
    assert_true(hand.count < HANDED_MOST);
    hand.requests[hand.count++] = r;
}

static void hand_append(void *e, log_append_t *r) { (void)e; hand_over(&r->base); }
static void hand_read(void *e, log_read_t *r) { (void)e; hand_over(&r->base); }
static void hand_amend(void *e, log_amend_t *r) { (void)e; hand_over(&r->base); }
static void hand_destroy(void *e, log_destroy_t *r) { (void)e; hand_over(&r->base); }
static void hand_put(void *e, log_put_t *r) { (void)e; hand_over(&r->base); }

static void hand_cancel(void *e, log_request_t *r)
{
    (void)e;
    for (size_t i = 0; i < hand.count; i++) {
        if (hand.requests[i] != r) continue;
        memmove(&hand.requests[i], &hand.requests[i + 1], (--hand.count - i) * sizeof hand.requests[0]);
        return;
    }
}

static void hand_follow(void *e, const ulid_t *project) { (void)e; (void)project; }
static void hand_run(void *e) { (void)e; }
static int hand_fd(const void *e) { (void)e; return -1; }
static int64_t hand_due(const void *e) { (void)e; return 0; }
static uint64_t hand_epoch(void *e, const ulid_t *project) { (void)e; (void)project; return 1; }
static uint64_t hand_last(void *e, const ulid_t *project) { (void)e; (void)project; return 0; }
static void hand_close(void *e) { (void)e; }

static const log_engine_t by_hand = {
    "by hand", false, false, hand_open, hand_append, hand_read, hand_amend, hand_destroy, hand_put,
    hand_cancel, hand_follow, hand_run, hand_fd, hand_due, hand_epoch, hand_last, hand_close
};
static const engine_t the_hand = { &by_hand, NULL };

static void answer_next(log_result_t result)
{
    log_request_t *r = hand.requests[0];

    assert_true(hand.count > 0);
    memmove(&hand.requests[0], &hand.requests[1], --hand.count * sizeof hand.requests[0]);
    log_answer(hand.front, r, result, "disk on fire");
}

static void answer_all(log_result_t result)
{
    while (hand.count) answer_next(result);
}

/* The front may ask for something of its own, to find out whether the engine works again. */
static void mend(void)
{
    for (int i = 0; i < 3 || hand.count || log_due(logs); i++) {
        assert_true(i < 1000);
        answer_all(LOG_OK);
        turn();
    }
}

/* Until the engine has a request: the front waits a while before it asks again. */
static void handed(size_t n)
{
    for (int i = 0; hand.count < n; i++) {
        assert_true(i < 1000);
        turn();
    }
    assert_int_equal(hand.count, n);
}

typedef struct one_t { log_append_t r; log_new_t event; bool done; } one_t;

static void one_done(log_request_t *r)
{
    one_t *o = r->user;
    assert_false(o->done);
    o->done = true;
}

static void ask_one(one_t *o, char project)
{
    memset(o, 0, sizeof *o);
    o->r.base.done = one_done;
    o->r.base.user = o;
    o->r.project = id_of(project);
    o->r.events = &o->event;
    o->r.count = 1;
    o->event.topic = id_of('a');
    o->event.value = slice_text("value");
    log_append(logs, &o->r);
}

static void what_failed_is_handed_over_again(void **state)
{
    one_t o;
    (void)state;

    ask_one(&o, 'p');
    for (int i = 0; i < 5; i++) {
        handed(1);
        assert_ptr_equal(hand.requests[0], &o.r.base);
        assert_int_not_equal(o.r.base.serial, 0);
        answer_next(LOG_FAILED);
        turn();
        assert_false(o.done);
    }
    handed(1);
    o.event.offset = 9;
    answer_next(LOG_OK);
    turn();
    assert_true(o.done);
    assert_int_equal(o.r.base.result, LOG_OK);
    turn_all();
    assert_int_equal(hand.count, 0);
}

static void serials_tell_requests_apart(void **state)
{
    one_t a, b;
    uint64_t first;
    (void)state;

    ask_one(&a, 'p');
    ask_one(&b, 'q');
    handed(2);
    assert_int_not_equal(a.r.base.serial, b.r.base.serial);
    first = a.r.base.serial;
    answer_next(LOG_FAILED);
    turn();
    handed(2);
    assert_int_equal(a.r.base.serial, first);
    answer_next(LOG_OK);
    answer_next(LOG_OK);
    turn_all();
    log_append(logs, &a.r);
    assert_int_not_equal(a.r.base.serial, first);
    a.done = false;
    handed(1);
    answer_next(LOG_OK);
    turn();
}

/* Whatever becomes of the first, what is asked for later never passes it on the way to the engine. */
static void appends_stay_in_order_when_they_fail(void **state)
{
    static one_t ones[8];
    size_t next = 0;
    (void)state;

    for (size_t i = 0; i < 4; i++) ask_one(&ones[i], 'p');
    handed(4);
    answer_all(LOG_FAILED);
    ask_one(&ones[4], 'p');
    turn();
    ask_one(&ones[5], 'p');
    handed(6);
    for (size_t i = 0; i < 6; i++) assert_ptr_equal(hand.requests[i], &ones[i].r.base);
    answer_next(LOG_OK);
    answer_next(LOG_OK);
    answer_all(LOG_FAILED);
    ask_one(&ones[6], 'p');
    handed(5);
    for (size_t i = 0; i < 5; i++) assert_ptr_equal(hand.requests[i], &ones[2 + i].r.base);
    mend();
    for (next = 0; next < 7; next++) assert_true(ones[next].done);
}

static void a_request_fails_when_its_time_is_over(void **state)
{
    one_t o;
    log_read_t r = read_of('p', 0, UINT64_MAX);
    int64_t begin_ms = clock_ms;
    bool flag = false;
    (void)state;

    ask_one(&o, 'p');
    r.base.done = set_flag;
    r.base.user = &flag;
    log_read(logs, &r);
    for (int i = 0; !(o.done && flag); i++) {
        assert_true(i < 10000);
        turn();
        answer_all(LOG_FAILED);
    }
    assert_int_equal(o.r.base.result, LOG_FAILED);
    assert_int_equal(r.base.result, LOG_FAILED);
    assert_non_null(strstr(o.r.base.why.text, "disk on fire"));
    assert_in_range(clock_ms - begin_ms, TIMEOUT_MS, TIMEOUT_MS + 10000);
    assert_int_equal(o.event.offset, 0);
    mend();
}

/* An engine that says nothing at all: the answer comes all the same, and the engine lets go of the
   request. */
static void a_silent_engine_does_not_hold_a_request(void **state)
{
    one_t *o = x_alloc(sizeof *o), next;
    int64_t begin_ms = clock_ms;
    (void)state;

    ask_one(o, 'p');
    for (int i = 0; !o->done; i++) {
        assert_true(i < 1000);
        turn();
    }
    assert_int_equal(o->r.base.result, LOG_FAILED);
    assert_in_range(clock_ms - begin_ms, TIMEOUT_MS, TIMEOUT_MS + 10000);
    for (size_t i = 0; i < hand.count; i++) assert_ptr_not_equal(hand.requests[i], &o->r.base);
    free(o);
    ask_one(&next, 'p');
    mend();
    assert_true(next.done);
    assert_int_equal(next.r.base.result, LOG_OK);
}

static void overdue_requests_are_unhealthy(void **state)
{
    one_t o;
    (void)state;

    assert_true(log_healthy(logs));
    ask_one(&o, 'p');
    log_run(logs);
    assert_true(log_healthy(logs));
    while (!o.done) {
        turn();
        answer_all(LOG_FAILED);
    }
    assert_false(log_healthy(logs));
    for (int i = 0; i < 20; i++) {      /* though nobody asks for anything */
        turn();
        answer_all(LOG_FAILED);
        assert_false(log_healthy(logs));
    }
    mend();
    assert_true(log_healthy(logs));
}

static void too_much_that_waits_is_full(void **state)
{
    static one_t ones[64];
    static uint8_t large[1 << 20];
    size_t n = 0;
    (void)state;

    while (!log_full(logs) && n < COUNT(ones)) {
        one_t *o = &ones[n++];
        memset(o, 0, sizeof *o);
        o->r.base.done = one_done;
        o->r.base.user = o;
        o->r.project = id_of('p');
        o->r.events = &o->event;
        o->r.count = 1;
        o->event.value = slice_of(large, sizeof large);
        log_append(logs, &o->r);
    }
    assert_true(log_full(logs));
    assert_true(n > 1);
    turn();
    assert_true(log_full(logs));
    mend();
    assert_false(log_full(logs));
    for (size_t i = 0; i < n; i++) assert_true(ones[i].done);
}

/* In the engine, between two attempts, and answered but not yet told. */
static void cancel_at_each_stage(void **state)
{
    for (int stage = 0; stage < 4; stage++) {
        log_put_t *r = x_alloc(sizeof *r);
        (void)state;
        *r = put_of("k", "v", 0);
        r->base.done = never;
        log_put(logs, r);
        if (stage > 0) handed(1);
        if (stage > 1) answer_next(stage == 2 ? LOG_FAILED : LOG_OK);
        log_cancel(logs, &r->base);
        free(r);
        turn_all();
        assert_int_equal(hand.count, 0);
    }
}

static void an_engine_without_amend_says_so(void **state)
{
    log_amend_t r;
    (void)state;

    assert_false(log_can_amend(logs));
    memset(&r, 0, sizeof r);
    ANSWER(log_amend, &r);
    assert_int_equal(r.base.result, LOG_UNSUPPORTED);
    if (used->engine == &by_hand) assert_int_equal(hand.count, 0);
}

/* ---- all of it */

#define WITH(test, i, words) { words ": " #test, test, open_one, close_one, (void *)&engines[i] }
#define EACH(test) \
    WITH(test, 0, "SQLite"), WITH(test, 1, "in a folder"), WITH(test, 2, "late 1"), WITH(test, 3, "late 2"), \
        WITH(test, 4, "late 3"), WITH(test, 5, "late 77")
/* The same over NATS, or a skipped test. */
#define NATS(test) \
    static void nats_##test(void **state) \
    { \
        if (!nats_is_up()) skip(); \
        test(state); \
    }
#define EACH_OF_NATS(F) \
    F(what_was_appended_is_read) F(a_read_is_of_a_range) F(reached_is_a_place_to_go_on_from) \
    F(pages_put_together_are_the_whole) F(a_page_has_its_bytes_and_one_event_more) \
    F(a_read_is_of_the_topics_that_it_names) F(a_read_begins_at_an_id) F(a_value_may_be_empty_or_large) \
    F(appends_are_answered_in_order_and_stored_once) F(an_answer_may_ask_again) \
    F(a_destroyed_topic_leaves_the_others) F(followers_hear_all_from_where_they_began) \
    F(a_follower_that_begins_amid_appends_misses_none) F(a_follower_may_end_another_one) \
    F(records_stand_in_order_of_their_keys) F(keys_and_values_are_bytes) \
    F(a_put_needs_the_revision_that_is_there) F(one_of_those_that_race_wins) \
    F(a_watch_hears_before_the_answer) F(after_cancel_no_answer_comes) F(once_stopped_memory_may_go) \
    F(an_answer_may_cancel_others) F(what_waits_at_the_close_gets_no_answer) F(epochs_tell_logs_apart) \
    F(what_was_answered_lasts) F(an_engine_without_amend_says_so)
#define NATS_TEST(test) \
    { "NATS: " #test, nats_##test, open_one, close_one, (void *)&engines[COUNT(engines) - 1] },
EACH_OF_NATS(NATS)

#define BY_HAND(test) { #test, test, open_one, close_one, (void *)&the_hand }

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(what_was_appended_is_read),
        EACH(a_read_is_of_a_range),
        EACH(reached_is_a_place_to_go_on_from),
        EACH(pages_put_together_are_the_whole),
        EACH(a_page_has_its_bytes_and_one_event_more),
        EACH(a_read_is_of_the_topics_that_it_names),
        EACH(a_read_begins_at_an_id),
        EACH(a_value_may_be_empty_or_large),
        EACH(appends_are_answered_in_order_and_stored_once),
        EACH(an_answer_may_ask_again),
        EACH(amend_replaces_one_value),
        EACH(a_destroyed_topic_leaves_the_others),
        EACH(followers_hear_all_from_where_they_began),
        EACH(a_follower_that_begins_amid_appends_misses_none),
        EACH(a_follower_may_end_another_one),
        EACH(records_stand_in_order_of_their_keys),
        EACH(keys_and_values_are_bytes),
        EACH(a_put_needs_the_revision_that_is_there),
        EACH(one_of_those_that_race_wins),
        EACH(a_watch_hears_before_the_answer),
        EACH(after_cancel_no_answer_comes),
        EACH(once_stopped_memory_may_go),
        EACH(an_answer_may_cancel_others),
        EACH(what_waits_at_the_close_gets_no_answer),
        EACH(epochs_tell_logs_apart),
        WITH(what_was_answered_lasts, 1, "in a folder"),
        WITH(one_process_writes_and_others_read, 1, "in a folder"),
        cmocka_unit_test(a_seed_is_a_number),
        BY_HAND(what_failed_is_handed_over_again),
        BY_HAND(serials_tell_requests_apart),
        BY_HAND(appends_stay_in_order_when_they_fail),
        BY_HAND(a_request_fails_when_its_time_is_over),
        BY_HAND(a_silent_engine_does_not_hold_a_request),
        BY_HAND(overdue_requests_are_unhealthy),
        BY_HAND(too_much_that_waits_is_full),
        BY_HAND(cancel_at_each_stage),
        BY_HAND(an_engine_without_amend_says_so),
        EACH_OF_NATS(NATS_TEST)
    };
    int failed;

    if (!mkdtemp(folder)) return 1;
    if (!nats_is_here()) printf("# no nats-server: tools/nats_server builds one; its tests are skipped\n");
    else if (!nats_start("")) return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    nats_stop();
    remove_folder(folder);
    return failed;
}
