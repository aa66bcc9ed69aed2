/* ensignd_dump.c - what --dump-all prints of a log, --load makes again in another one: topics with all that
 * their records keep, keys, and events of each kind, over the log on SQLite and the one that is late, out of
 * order and failing. And what is wrong with a line is told. */
#include "clock.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The time passes only while somebody waits. */
static int pass_time(struct pollfd *fds, nfds_t n, int ms)
{
    (void)fds;
    (void)n;
    clock_ms += ms;
    return 0;
}
#define poll pass_time
#include "../../tools/ensignd/log_now.c"
#undef poll
#include "../../tools/ensignd/dump.h"
#include "../../tools/ensignd/log_engine.h"
#include "../../tools/ensignd/messages.h"
#include "../../tools/ensignd/moved.h"
#include "../../tools/ensignd/stored_json.h"
#include "../../tools/ensignd/wrapper.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define AES256_GCM 110
enum { LATE_SEEDS = 30, DAMAGES = 200 };
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static why_t why;
static loaded_t loaded;

/* ---- chance, by a seed */

static uint64_t dice;

static unsigned below(unsigned n)
{
    uint64_t z = dice += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (unsigned)((z ^ z >> 31) >> 32) % n;
}

static void put_chance(buf_t *b, size_t len)
{
    while (len--) {
        uint8_t c = (uint8_t)below(256);
        buf_put(b, &c, 1);
    }
}

/* ---- logs */

static log_t *open_log(const log_engine_t *engine, const char *where)
{
    log_t *l = log_open(engine, where, LOG_WRITE, 30000, &why);
    if (!l) fail_msg("%s", why.text);
    return l;
}

static ulid_t id_of(char letter)
{
    ulid_t id;
    memset(&id, letter & 0x3f, sizeof id);
    return id;
}

static msg_topic_t topic_of(const ulid_t *project, const ulid_t *id, const char *name)
{
    msg_topic_t m;

    memset(&m, 0, sizeof m);
    m.id = slice_of(id->b, sizeof id->b);
    m.project_id = slice_of(project->b, sizeof project->b);
    m.name = slice_text(name);
    m.status = MSG_TOPIC_STATE_READY;
    m.has_created = m.has_modified = true;
    m.created.seconds = 1700000000;
    m.modified.seconds = 1700000001;
    m.modified.nanos = 5;
    return m;
}

static void make_record(log_t *l, const ulid_t *project, const char *name, ensign_slice_t record)
{
    buf_t key = { NULL, 0, 0, 0 };

    topic_record_key(project, slice_text(name), &key);
    assert_true(log_put_now(l, buf_bytes(&key), record, &why));
    buf_free(&key);
}

static void make_topic(log_t *l, const ulid_t *project, const ulid_t *id, const char *name)
{
    msg_topic_t m = topic_of(project, id, name);
    buf_t record = { NULL, 0, 0, 0 };

    assert_true(msg_put(&record, MSG_TOPIC, &m));
    make_record(l, project, name, buf_bytes(&record));
    buf_free(&record);
}

/* Returns the id that it got. */
static bool take_id(void *user, const log_event_t *e)
{
    *(rlid_t *)user = e->id;
    return false;
}

static rlid_t append(log_t *l, const ulid_t *project, const ulid_t *topic, ensign_slice_t value)
{
    log_new_t e = { *topic, value, 0, { NULL, 0 } };
    log_append_t r;
    rlid_t id = { { 0 } };

    memset(&r, 0, sizeof r);
    r.project = *project;
    r.events = &e;
    r.count = 1;
    assert_true(log_append_now(l, &r, &why));
    assert_true(log_read_one_now(l, project, topic, e.offset, take_id, &id, &why));
    return id;
}

static msg_event_wrapper_t stored_wrapper(const ulid_t *topic, ensign_slice_t event)
{
    msg_event_wrapper_t w;

    memset(&w, 0, sizeof w);
    w.topic_id = slice_of(topic->b, sizeof topic->b);
    w.event = event;
    w.has_publisher = true;
    w.publisher.publisher_id = slice_text("01GX");
    w.publisher.ipaddr = slice_text("127.0.0.1:5");
    return w;
}

static rlid_t append_wrapper(log_t *l, const ulid_t *project, const ulid_t *topic,
                             const msg_event_wrapper_t *w)
{
    buf_t value = { NULL, 0, 0, 0 };
    rlid_t id;

    assert_true(msg_put(&value, MSG_EVENT_WRAPPER, w));
    id = append(l, project, topic, buf_bytes(&value));
    buf_free(&value);
    return id;
}

static rlid_t append_data(log_t *l, const ulid_t *project, const ulid_t *topic, const char *data)
{
    buf_t event = { NULL, 0, 0, 0 };
    msg_event_wrapper_t w;
    msg_event_t e;
    rlid_t id;

    memset(&e, 0, sizeof e);
    e.data = slice_text(data);
    e.mimetype = ENSIGN_MIME_APPLICATION_JSON;
    assert_true(msg_put(&event, MSG_EVENT, &e));
    w = stored_wrapper(topic, buf_bytes(&event));
    id = append_wrapper(l, project, topic, &w);
    buf_free(&event);
    return id;
}

static rlid_t append_duplicate(log_t *l, const ulid_t *project, const ulid_t *topic, const rlid_t *original)
{
    msg_event_wrapper_t w = stored_wrapper(topic, slice_of(NULL, 0));

    w.is_duplicate = true;
    w.duplicate_id = slice_of(original->b, sizeof original->b);
    return append_wrapper(l, project, topic, &w);
}

/* ---- dumps and loads */

static char path[] = "/tmp/ensignd_dump.XXXXXX";

static void dump(log_t *l, const char *topic)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    if (!dump_lines(l, topic, false, f, &why)) fail_msg("%s", why.text);
    fclose(f);
}

static bool load_path(log_t *l)
{
    int fd = load_open(path, &why);

    assert_true(fd >= 0);
    why.text[0] = '\0';
    return load_lines(l, fd, "FILE", &loaded, &why);
}

static void load(log_t *l)
{
    if (!load_path(l)) fail_msg("%s", why.text);
}

static void write_lines(const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* What a log has, to be compared: each record of metadata of these kinds, and each event of the project with
   its topic and value. A duplicate's original is told by its number in the project. */
typedef struct seen_t { rlid_t *ids; size_t count; buf_t out; } seen_t;

static void put_part(buf_t *out, ensign_slice_t part)
{
    uint32_t len = (uint32_t)part.len;

    buf_put(out, &len, sizeof len);
    buf_put(out, part.ptr, part.len);
}

static bool see_record(void *user, ensign_slice_t key, ensign_slice_t value)
{
    put_part(user, key);
    put_part(user, value);
    return true;
}

static bool see_id(void *user, const log_event_t *e)
{
    seen_t *s = user;

    s->ids = x_realloc(s->ids, (s->count + 1) * sizeof *s->ids);
    s->ids[s->count++] = e->id;
    return true;
}

static bool see_event(void *user, const log_event_t *e)
{
    seen_t *s = user;
    msg_event_wrapper_t w;
    buf_t again = { NULL, 0, 0, 0 };
    uint64_t number = UINT64_MAX;
    stamp_t committed;

    put_part(&s->out, slice_of(e->topic.b, sizeof e->topic.b));
    if (!msg_decode(MSG_EVENT_WRAPPER, &w, e->value)) {
        put_part(&s->out, e->value);
        return true;
    }
    for (size_t i = 0; w.is_duplicate && w.duplicate_id.len == sizeof(rlid_t) && i < s->count; i++)
        if (memcmp(s->ids[i].b, w.duplicate_id.ptr, sizeof(rlid_t)) == 0) number = i;
    if (number != UINT64_MAX) w.duplicate_id = slice_of(&number, sizeof number);
    committed = wrapper_committed(e);
    w.has_committed = true;             /* whether the log has it or the event */
    w.committed.seconds = committed.seconds;
    w.committed.nanos = committed.nanos;
    put_part(&s->out, w.event);
    assert_true(msg_put(&again, MSG_EVENT_WRAPPER, &w));
    put_part(&s->out, buf_bytes(&again));
    buf_free(&again);
    return true;
}

static buf_t all_of(log_t *l, const ulid_t *projects, size_t count)
{
    seen_t s = { NULL, 0, { NULL, 0, 0, 0 } };

    log_each(l, "topic/", see_record, &s.out);
    log_each(l, "dead/", see_record, &s.out);
    log_each(l, "key/", see_record, &s.out);
    for (size_t i = 0; i < count; i++) {
        s.count = 0;
        assert_true(log_read_now(l, &projects[i], NULL, see_id, &s, &why));
        assert_true(log_read_now(l, &projects[i], NULL, see_event, &s, &why));
    }
    free(s.ids);
    return s.out;
}

static void assert_same(log_t *a, log_t *b, const ulid_t *projects, size_t count)
{
    buf_t x = all_of(a, projects, count), y = all_of(b, projects, count);

    assert_int_equal(buf_len(&x), buf_len(&y));
    assert_memory_equal(x.ptr, y.ptr, buf_len(&x));
    buf_free(&x);
    buf_free(&y);
}

/* ---- everything that a log can have */

static ulid_t projects[2], topics[4];

static void put_pair(buf_t *out, ensign_slice_t key, ensign_slice_t value)
{
    msg_event_metadata_entry_t e;
    buf_t entry = { NULL, 0, 0, 0 };

    e.key = key;
    e.value = value;
    assert_true(msg_put(&entry, MSG_EVENT_METADATA_ENTRY, &e));
    msg_put_field(out, MSG_EVENT_METADATA_TAG, buf_bytes(&entry));
    buf_free(&entry);
}

/* Some of them cannot be written as JSON, or not in the way in which they are encoded. */
static void put_some_event(buf_t *out)
{
    static const char *const texts[] = { "", "a", "key", "\xc3\xbc", "\"\\\n\x01", "\xff", "a longer text" };
    buf_t data = { NULL, 0, 0, 0 }, metadata = { NULL, 0, 0, 0 };
    msg_event_t e;

    if (below(8) == 0) {
        put_chance(out, below(40));
        return;
    }
    memset(&e, 0, sizeof e);
    if (below(3)) buf_put(&data, texts[below(4)], 1);
    else put_chance(&data, below(300));
    for (unsigned i = below(4); i > 0; i--)
        put_pair(&metadata, slice_text(texts[below(COUNT(texts))]), slice_text(texts[below(COUNT(texts))]));
    e.data = buf_bytes(&data);
    e.metadata = buf_bytes(&metadata);
    e.mimetype = (int32_t)below(1200);
    e.has_type = below(2);
    e.type.name = slice_text(texts[below(COUNT(texts))]);
    e.type.major_version = below(2) ? UINT32_MAX : 0;
    e.type.patch_version = below(3);
    e.has_created = below(4) != 0;
    e.created.seconds = below(2) ? 1700000000 + (int64_t)below(1000) : (int64_t)below(1000) - 2000000000;
    e.created.nanos = below(3) ? (int32_t)below(1000000000) : -1;
    assert_true(msg_put(out, MSG_EVENT, &e));
    if (below(8) == 0) buf_put(out, "\xf8\x06\x07", 3);         /* a field that nobody knows */
    buf_free(&data);
    buf_free(&metadata);
}

static void put_some_wrapper(msg_event_wrapper_t *w)
{
    w->region = below(4) ? 0 : (int32_t)below(2000);
    w->shard = below(4) ? 0 : below(9);
    if (below(4) == 0) w->key = slice_of("k\0\xff", 1 + below(3));
    w->has_publisher = below(8) != 0;
    w->publisher.client_id = slice_of("c\xff", below(3));
    w->publisher.user_agent = slice_text(below(2) ? "agent/1.0" : "");
    w->has_encryption = below(8) == 0;
    if (below(2)) w->encryption.encryption_algorithm = AES256_GCM;
    w->encryption.signature = slice_of("\0s", below(3));
    w->has_compression = below(8) == 0;
    w->compression.level = -(int64_t)below(3);
}

static void add_events(log_t *l, size_t count)
{
    rlid_t originals[4];
    bool has[4] = { false, false, false, false };

    for (size_t i = 0; i < count; i++) {
        unsigned t = below(4), p = t / 2;
        buf_t event = { NULL, 0, 0, 0 };
        msg_event_wrapper_t w;
        rlid_t id;
        put_some_event(&event);
        w = stored_wrapper(&topics[t], buf_bytes(&event));
        put_some_wrapper(&w);
        w.is_duplicate = has[t] && below(4) == 0;
        if (w.is_duplicate) w.duplicate_id = slice_of(originals[t].b, sizeof originals[t].b);
        id = append_wrapper(l, &projects[p], &topics[t], &w);
        if (!w.is_duplicate && below(3) == 0) originals[t] = id, has[t] = true;
        buf_free(&event);
    }
}

static void add_topics(log_t *l)
{
    msg_topic_t m = topic_of(&projects[0], &topics[1], "orders.v1");
    buf_t record = { NULL, 0, 0, 0 }, keys = { NULL, 0, 0, 0 }, dead = { NULL, 0, 0, 0 };

    make_topic(l, &projects[0], &topics[0], "orders");
    m.has_deduplication = m.readonly = true;
    m.deduplication.strategy = MSG_DEDUPLICATION_STRATEGY_UNIQUE_KEY;
    m.deduplication.offset = MSG_DEDUPLICATION_OFFSET_POSITION_OFFSET_LATEST;
    m.deduplication.overwrite_duplicate = true;
    msg_put_field(&keys, MSG_DEDUPLICATION_KEYS_TAG, slice_text("a"));
    msg_put_field(&keys, MSG_DEDUPLICATION_KEYS_TAG, slice_text("\xc3\xbc"));
    m.deduplication.keys = buf_bytes(&keys);
    assert_true(msg_put(&record, MSG_TOPIC, &m));
    make_record(l, &projects[0], "orders.v1", buf_bytes(&record));
    make_topic(l, &projects[1], &topics[2], "orders");
    topic_dead_key(&topics[3], &dead);
    assert_true(log_put_now(l, buf_bytes(&dead), slice_of(topics[2].b, sizeof topics[2].b), &why));
    record.start = record.end = 0;
    m = topic_of(&projects[1], &topics[3], "Orders-dead");      /* in front of the topic whose it is */
    m.shards = 7;               /* what a line has no field for */
    assert_true(msg_put(&record, MSG_TOPIC, &m));
    make_record(l, &projects[1], "Orders-dead", buf_bytes(&record));
    buf_free(&record);
    buf_free(&keys);
    buf_free(&dead);
}

static void fill(log_t *l, uint64_t seed, size_t count)
{
    keyring_t keys;
    bool made;

    dice = seed;
    for (char i = 0; i < 2; i++) projects[(int)i] = id_of((char)('P' + i));
    for (char i = 0; i < 4; i++) topics[(int)i] = id_of((char)('A' + i));
    assert_true(keyring_from_log(&keys, l, &made, &why));
    keyring_free(&keys);
    add_topics(l);
    add_events(l, count);
}

static void all_is_the_same_in_another_log(void **state)
{
    log_t *a = open_log(&log_sqlite, NULL), *b = open_log(&log_sqlite, NULL);
    (void)state;

    fill(a, 1, 3000);
    dump(a, NULL);
    load(b);
    assert_int_equal(loaded.events, 3000);
    assert_int_equal(loaded.topics, 4);
    assert_int_equal(loaded.keys, 3);
    assert_same(a, b, projects, 2);
    log_close(a);
    log_close(b);
}

/* There and back: what is late, out of order and failing gives the same dump. FEWER divides the seeds. */
static void and_in_one_that_is_late(void **state)
{
    const char *fewer = getenv("FEWER");
    int seeds = fewer && atoi(fewer) > 0 ? 1 + LATE_SEEDS / atoi(fewer) : LATE_SEEDS;
    (void)state;

    for (int seed = 1; seed <= seeds; seed++) {
        log_t *a = open_log(&log_sqlite, NULL), *late, *b = open_log(&log_sqlite, NULL);
        char text[16];
        snprintf(text, sizeof text, "%d", seed);
        late = open_log(&log_late, text);
        fill(a, (uint64_t)seed, 300);
        dump(a, NULL);
        load(late);
        assert_same(a, late, projects, 2);
        dump(late, NULL);
        load(b);
        assert_same(a, b, projects, 2);
        log_close(a);
        log_close(late);
        log_close(b);
    }
}

static void one_topic_is_carried_alone(void **state)
{
    log_t *a = open_log(&log_sqlite, NULL), *b = open_log(&log_sqlite, NULL);
    ulid_t project = id_of('p'), one = id_of('a'), other = id_of('b');
    (void)state;

    make_topic(a, &project, &one, "one");
    make_topic(a, &project, &other, "other");
    append_data(a, &project, &other, "1");
    append_data(a, &project, &one, "2");
    dump(a, "one");
    load(b);
    assert_true(loaded.events == 1 && loaded.topics == 1 && loaded.keys == 0);
    assert_false(dump_lines(a, "third", false, stdout, &why));
    assert_non_null(strstr(why.text, "--dump third: the store holds no topic of that name"));
    log_close(a);
    log_close(b);
}

/* ---- what is there already */

static topic_t *topic_named(topics_t *t, const ulid_t *project, const char *name)
{
    topic_t *x = topics_by_name(t, project, slice_text(name));
    assert_non_null(x);
    return x;
}

static void a_topic_that_is_there_gets_the_events(void **state)
{
    log_t *a = open_log(&log_sqlite, NULL), *b = open_log(&log_sqlite, NULL);
    ulid_t project = id_of('p'), one = id_of('a'), two = id_of('b'), three = id_of('c');
    topics_t t;
    rlid_t id;
    (void)state;

    make_topic(a, &project, &one, "one");       /* its id is taken there, its name is not */
    make_topic(a, &project, &two, "two");       /* is there with another id */
    append_data(a, &project, &one, "1");
    id = append_data(a, &project, &two, "2");
    append_duplicate(a, &project, &two, &id);
    make_topic(b, &project, &one, "other");
    make_topic(b, &project, &three, "two");
    append_data(b, &project, &three, "0");
    dump(a, NULL);
    load(b);
    assert_true(loaded.events == 3 && loaded.topics == 1);
    topics_open(&t, b);
    assert_false(ulid_eq(&topic_named(&t, &project, "one")->id, &one));
    assert_true(ulid_eq(&topic_named(&t, &project, "other")->id, &one));
    assert_true(ulid_eq(&topic_named(&t, &project, "two")->id, &three));
    topics_close(&t);
    dump(b, "two");
    load(b);
    assert_int_equal(loaded.events, 3);
    make_topic(b, &project, &two, "later");     /* nobody who was there before hears of it any more */
    log_close(a);
    log_close(b);
}

/* The mark of the dead letters names the topic by the id that it has there. */
static void dead_letters_follow_their_topic(void **state)
{
    log_t *a = open_log(&log_sqlite, NULL), *b = open_log(&log_sqlite, NULL);
    ulid_t project = id_of('p'), one = id_of('a'), dead = id_of('b'), of;
    buf_t key = { NULL, 0, 0, 0 };
    ensign_slice_t value;
    topics_t t;
    (void)state;

    make_topic(a, &project, &one, "one");
    make_topic(a, &project, &dead, "a-dead");   /* stands in front of it */
    topic_dead_key(&dead, &key);
    assert_true(log_put_now(a, buf_bytes(&key), slice_of(one.b, sizeof one.b), &why));
    make_topic(b, &project, &one, "other");
    dump(a, NULL);
    load(b);
    topics_open(&t, b);
    assert_true(topic_named(&t, &project, "a-dead")->dead_letters);
    assert_true(log_get(b, buf_bytes(&key), &value, NULL) && ulid_from(value, &of));
    assert_true(ulid_eq(&topic_named(&t, &project, "one")->id, &of));
    topics_close(&t);
    buf_free(&key);
    log_close(a);
    log_close(b);
}

static void a_topic_that_is_being_destroyed_is_left_out(void **state)
{
    log_t *a = open_log(&log_sqlite, NULL), *b = open_log(&log_sqlite, NULL);
    ulid_t project = id_of('p'), one = id_of('a'), going = id_of('b');
    buf_t key = { NULL, 0, 0, 0 };
    (void)state;

    make_topic(a, &project, &one, "one");
    make_topic(a, &project, &going, "going");
    append_data(a, &project, &one, "1");
    append_data(a, &project, &going, "2");
    topic_destroy_key(&going, &key);
    assert_true(log_put_now(a, buf_bytes(&key), slice_text("1"), &why));
    dump(a, NULL);
    load(b);
    assert_true(loaded.events == 1 && loaded.topics == 1);
    buf_free(&key);
    log_close(a);
    log_close(b);
}

/* ---- duplicates */

/* Five thousand events, of which some point far back, and some far ahead. */
static void duplicates_point_back_and_ahead(void **state)
{
    log_t *a = open_log(&log_sqlite, NULL), *b = open_log(&log_sqlite, NULL);
    ulid_t project = id_of('p'), topic = id_of('a');
    rlid_t ids[5000], none = { "not there" };
    buf_t value = { NULL, 0, 0, 0 };
    msg_event_wrapper_t w;
    log_amend_t r;
    (void)state;

    make_topic(a, &project, &topic, "orders");
    for (size_t i = 0; i < COUNT(ids); i++)
        ids[i] = i % 3 ? append_data(a, &project, &topic, "x") : append_duplicate(a, &project, &topic, &none);
    for (size_t i = 0; i < COUNT(ids); i += 3) {
        memset(&r, 0, sizeof r);
        w = stored_wrapper(&topic, slice_of(NULL, 0));
        w.is_duplicate = true;
        w.duplicate_id = slice_of(ids[(i * 7 + 1) % COUNT(ids) / 3 * 3 + 1].b, sizeof none.b);
        value.start = value.end = 0;
        assert_true(msg_put(&value, MSG_EVENT_WRAPPER, &w));
        r.project = project;
        r.topic = topic;
        r.offset = i + 1;
        r.value = buf_bytes(&value);
        assert_true(log_amend_now(a, &r, 1, &why));
        assert_true(r.found);
    }
    dump(a, NULL);
    load(b);
    assert_same(a, b, &project, 1);
    buf_free(&value);
    log_close(a);
    log_close(b);
}

static void an_original_that_never_comes_is_told(void **state)
{
    log_t *a = open_log(&log_sqlite, NULL), *b = open_log(&log_sqlite, NULL);
    ulid_t project = id_of('p'), topic = id_of('a');
    rlid_t none = { "not there" };
    (void)state;

    make_topic(a, &project, &topic, "orders");
    append_data(a, &project, &topic, "x");
    append_duplicate(a, &project, &topic, &none);
    append_duplicate(a, &project, &topic, &none);
    dump(a, NULL);
    assert_false(load_path(b));
    assert_string_equal(why.text, "--load FILE: line 3: duplicate_of: no line has that event; this is the "
                                  "first of 2 such lines; 3 events were loaded, and stay");
    log_close(a);
    log_close(b);
}

/* An engine such as that of a distributed log, whose events stay as they are. */
static void a_log_that_cannot_amend_has_them_too(void **state)
{
    log_engine_t rigid = log_late;
    log_t *a = open_log(&log_sqlite, NULL), *b;
    ulid_t project = id_of('p'), topic = id_of('a');
    rlid_t id;
    (void)state;

    rigid.can_amend = false;
    b = open_log(&rigid, "5");
    make_topic(a, &project, &topic, "orders");
    for (int i = 0; i < 40; i++) {
        id = append_data(a, &project, &topic, "x");
        for (int k = 0; k < i % 3; k++) append_duplicate(a, &project, &topic, &id);
    }
    dump(a, NULL);
    load(b);
    assert_same(a, b, &project, 1);
    memset(&id, 0x7f, sizeof id);
    append_duplicate(a, &project, &topic, &id);
    dump(a, NULL);
    assert_false(load_path(b));
    assert_non_null(strstr(why.text, "line 81: duplicate_of: no line before has that event"));
    assert_non_null(strstr(why.text, "; 79 events were loaded"));
    log_close(a);
    log_close(b);
}

static void and_refuses_policies_that_amend(void **state)
{
    log_engine_t rigid = log_late;
    log_t *a = open_log(&log_sqlite, NULL), *b;
    (void)state;

    rigid.can_amend = false;
    b = open_log(&rigid, "6");
    fill(a, 1, 0);
    dump(a, "orders.v1");
    assert_false(load_path(b));
    assert_non_null(strstr(why.text, "line 1: deduplication: UNIQUE_KEY is not supported"));
    log_close(a);
    log_close(b);
}

/* ---- lines that are wrong */

#define TOPIC "{\"kind\":\"topic\",\"id\":\"01GWM936SFPVHB3BYE50BV0V5F\",\"project_id\":" \
              "\"01GWM936SFPVHB3BYE50BV0V5G\",\"name\":\"orders\"}\n"
#define EVENT "{\"kind\":\"event\",\"topic_id\":\"01GWM936SFPVHB3BYE50BV0V5F\",\"data\":\"x\""

static void a_wrong_line_is_told_and_nothing_behind_it_is_read(void **state)
{
    static const char *const rows[][2] = {
        { "[]", "it is no JSON object" },
        { "{\"kind\":\"event\"", "column " },
        { "{\"kind\":\"gap\"}", "kind: give \"event\", \"topic\" or \"key\"" },
        { "{}", "kind: give" },
        { "{\"kind\":\"event\",\"kind\":\"event\"}", "duplicate object key" },
        { "{\"kind\":\"event\",\"data\":\"\"}", "topic_id: it is missing" },
        { "{\"kind\":\"event\",\"topic_id\":7}", "topic_id: give a string" },
        { "{\"kind\":\"event\",\"topic_id\":\"orders\"}", "topic_id: give a ULID" },
        { "{\"kind\":\"event\",\"topic_id\":\"01GWM936SFPVHB3BYE50BV0V5Z\"}", "topic_id: no line before" },
        { "{\"kind\":\"event\",\"topic_id\":\"01GWM936SFPVHB3BYE50BV0V5F\"}", "data: it is missing" },
        { EVENT ",\"colour\":1}", "colour: there is no such field" },
        { EVENT ",\"data_encoding\":\"base64\"}", "data: it is not base64" },
        { EVENT ",\"data_encoding\":\"hex\"}", "data_encoding: give \"text\" or \"base64\"" },
        { EVENT ",\"key\":1}", "key: give a string" },
        { EVENT ",\"mimetype\":\"nonsense\"}", "mimetype: give one that the service knows" },
        { EVENT ",\"mimetype\":\"text/plain\",\"mimetype_number\":50}",
          "mimetype: it and mimetype_number differ" },
        { EVENT ",\"mimetype_number\":2147483648}", "mimetype_number: give a whole number" },
        { EVENT ",\"mimetype_number\":1.5}", "mimetype_number: give a whole number" },
        { EVENT ",\"type\":\"T\"}", "type: give an object" },
        { EVENT ",\"type\":{\"name\":\"T\",\"version\":\"1\"}}", "type.version: give a semantic version" },
        { EVENT ",\"type\":{\"name\":7,\"version\":\"1.0.0\"}}", "type.name: give a string" },
        { EVENT ",\"metadata\":[]}", "metadata: give an object of strings" },
        { EVENT ",\"metadata\":{\"a\":1}}", "metadata: each value must be a string" },
        { EVENT ",\"created\":\"yesterday\"}", "created: give a time such as" },
        { EVENT ",\"duplicate_of\":\"x\"}", "duplicate_of: give an RLID" },
        { EVENT ",\"id\":5}", "id: give a string" },
        { EVENT ",\"region\":\"x\"}", "region: give a whole number" },
        { EVENT ",\"encryption\":\"/w==\"}", "encryption: give the encoded message" },
        { EVENT ",\"compression\":\"?\"}", "compression: it is not base64" },
        { EVENT ",\"event\":\"?\"}", "event: it is not base64" },
        { EVENT ",\"wrapper\":\"?\"}", "wrapper: it is not base64" },
        { "{\"kind\":\"topic\"}", "id: it is missing" },
        { "{\"kind\":\"topic\",\"id\":\"01GWM936SFPVHB3BYE50BV0V5F\"}", "project_id: it is missing" },
        { "{\"kind\":\"topic\",\"id\":\"01GWM936SFPVHB3BYE50BV0V5F\",\"project_id\":"
          "\"01GWM936SFPVHB3BYE50BV0V5G\",\"name\":\"a b\"}", "name: topic name is invalid" },
        { "{\"kind\":\"topic\",\"id\":\"01GWM936SFPVHB3BYE50BV0V5F\",\"record\":\"AAAA\"}",
          "record: give the encoded Topic" },
        { "{\"kind\":\"key\",\"client_id\":\"a\"}", "a key needs" },
        { "{\"kind\":\"key\",\"client_id\":\"a\",\"client_secret\":\"b\",\"permissions\":[\"fly\"]}", "fly" },
        { "{\"kind\":\"key\",\"client_id\":\"a\",\"client_secret\":\"b\"}", "id: it is missing" },
    };
    (void)state;

    for (size_t i = 0; i < COUNT(rows); i++) {
        log_t *l = open_log(&log_sqlite, NULL);
        char text[1024];
        snprintf(text, sizeof text, TOPIC "%s}\n\n%s\n%s}\n", EVENT, rows[i][0], EVENT);
        write_lines(text);
        assert_false(load_path(l));
        if (!strstr(why.text, rows[i][1]) || strncmp(why.text, "--load FILE: line 4: ", 21) != 0 ||
            !strstr(why.text, "; 1 events were loaded, and stay"))
            fail_msg("%s: %s", rows[i][0], why.text);
        assert_int_equal(loaded.events, 1);
        log_close(l);
    }
}

static buf_t read_path(void)
{
    buf_t b = { NULL, 0, 0, 0 };
    FILE *f = fopen(path, "r");
    size_t n;

    assert_non_null(f);
    while ((n = fread(buf_room(&b, 4096), 1, 4096, f)) > 0) b.end += n;
    fclose(f);
    return b;
}

static void write_path(ensign_slice_t bytes)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes.ptr, 1, bytes.len, f), bytes.len);
    fclose(f);
}

/* Whatever is wrong with it: it is told with its line, or it was not wrong after all. */
static void a_damaged_dump_does_no_harm(void **state)
{
    log_t *a = open_log(&log_sqlite, NULL);
    buf_t whole;
    size_t taken = 0;
    (void)state;

    fill(a, 1, 40);
    dump(a, NULL);
    whole = read_path();
    for (uint64_t seed = 0; seed < DAMAGES; seed++) {
        buf_t b = { NULL, 0, 0, 0 };
        log_t *l = open_log(&log_sqlite, NULL);
        dice = seed;
        buf_put(&b, whole.ptr, buf_len(&whole));
        for (unsigned i = 1 + below(3); i > 0; i--) {
            uint8_t *at = b.ptr + below((unsigned)buf_len(&b));
            *at = below(2) ? (uint8_t)below(256) : (uint8_t)(*at + 1);
        }
        if (below(4) == 0) b.end = below((unsigned)b.end);
        write_path(buf_bytes(&b));
        if (load_path(l)) taken++;
        else assert_int_equal(strncmp(why.text, "--load FILE: line ", 18), 0);
        assert_true(loaded.events <= 41);
        log_close(l);
        buf_free(&b);
    }
    assert_true(taken > 0 && taken < DAMAGES);
    buf_free(&whole);
    log_close(a);
}

static void a_line_by_hand_needs_little(void **state)
{
    log_t *l = open_log(&log_sqlite, NULL);
    (void)state;

    write_lines(TOPIC EVENT "}\r\n  \n" EVENT ",\"mimetype\":\"application/json\",\"key\":\"AP8=\","
                "\"key_encoding\":\"base64\",\"created\":\"2026-01-31T12:00:00+01:00\"}");    /* no newline */
    load(l);
    assert_true(loaded.events == 2 && loaded.topics == 1);
    log_close(l);
}

static void a_large_event_comes_through(void **state)
{
    log_t *a = open_log(&log_sqlite, NULL), *b = open_log(&log_sqlite, NULL);
    ulid_t project = id_of('p'), topic = id_of('a');
    char *data = x_alloc(3000001);
    (void)state;

    make_topic(a, &project, &topic, "orders");
    memset(data, '\n', 3000000);
    append_data(a, &project, &topic, data);
    append_data(a, &project, &topic, "small");
    dump(a, NULL);
    load(b);
    assert_same(a, b, &project, 1);
    free(data);
    log_close(a);
    log_close(b);
}

/* ---- the way from an id to where its event is */

static rlid_t rlid_of(uint64_t n)
{
    return rlid_make((int64_t)(n >> 8), (uint32_t)(n & 0xff));
}

static void ids_are_found_whatever_their_order(void **state)
{
    moved_t *m = moved_open();
    ulid_t one = id_of('p'), other = id_of('q');
    uint64_t offset;
    rlid_t id;
    (void)state;

    for (uint64_t i = 0; i < 20000; i++) {      /* runs of 100 ids, from the last run to the first */
        uint64_t n = (199 - i / 100) * 100 + i % 100;
        id = rlid_of(2 * n);
        assert_true(moved_put(m, &one, &id, n + 1, &why));
        if (i % 10 == 0) assert_true(moved_put(m, &other, &id, n + 100000, &why));
    }
    for (uint64_t n = 0; n < 20000; n += 7) {
        id = rlid_of(2 * n);
        assert_true(moved_find(m, &one, &id, &offset, &why));
        assert_int_equal(offset, n + 1);
        assert_true(moved_find(m, &other, &id, &offset, &why));
        assert_int_equal(offset, n % 10 ? 0 : n + 100000);
        id = rlid_of(2 * n + 1);
        assert_true(moved_find(m, &one, &id, &offset, &why));
        assert_int_equal(offset, 0);
    }
    moved_close(m);
}

static int remove_path(void **state)
{
    (void)state;
    return remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_the_same_in_another_log),
        cmocka_unit_test(and_in_one_that_is_late),
        cmocka_unit_test(one_topic_is_carried_alone),
        cmocka_unit_test(a_topic_that_is_there_gets_the_events),
        cmocka_unit_test(dead_letters_follow_their_topic),
        cmocka_unit_test(a_topic_that_is_being_destroyed_is_left_out),
        cmocka_unit_test(duplicates_point_back_and_ahead),
        cmocka_unit_test(an_original_that_never_comes_is_told),
        cmocka_unit_test(a_log_that_cannot_amend_has_them_too),
        cmocka_unit_test(and_refuses_policies_that_amend),
        cmocka_unit_test(a_wrong_line_is_told_and_nothing_behind_it_is_read),
        cmocka_unit_test(a_damaged_dump_does_no_harm),
        cmocka_unit_test(a_line_by_hand_needs_little),
        cmocka_unit_test(a_large_event_comes_through),
        cmocka_unit_test(ids_are_found_whatever_their_order),
    };
    int fd = mkstemp(path);

    if (fd < 0) return 1;
    close(fd);
    json_set_alloc_funcs(x_alloc, free);
    return cmocka_run_group_tests(tests, NULL, remove_path);
}
