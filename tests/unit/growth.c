/* growth.c - what grows with a number grows no faster than it. The work of a number and of four times as many
 * is compared by the count of functions that are entered: the Makefile has this file compiled with
 * -finstrument-functions. */
#include "bare.h"

static uint64_t steps;

void __cyg_profile_func_enter(void *function, void *from) __attribute__((no_instrument_function));
void __cyg_profile_func_exit(void *function, void *from) __attribute__((no_instrument_function));

void __cyg_profile_func_enter(void *function, void *from)
{
    (void)function;
    (void)from;
    steps++;
}

void __cyg_profile_func_exit(void *function, void *from)
{
    (void)function;
    (void)from;
}

static int setup(void **state)
{
    ensign_desc_t d = bare_desc();
    (void)state;
    d.topic_cache = ENSI_CACHE_MAX;
    d.max_handles = 1000;
    return bare_setup(&d);
}

/* `of` makes `count` of something, and returns what that took. Four times as many may take five times as much,
 * for a search in order takes a little longer among more. */
static void grows_in_step(uint64_t (*of)(size_t count), size_t count)
{
    uint64_t once = of(count), four_times = of(4 * count);
    assert_true(once > count); /* the steps are counted */
    if (four_times > 5 * once)
        fail_msg("%zu take %llu steps, %zu take %llu", count, (unsigned long long)once, 4 * count,
                 (unsigned long long)four_times);
}

/* ---------------------------------------------------------------- answers, in any order */

enum { ANSWERS = 1000 };

static size_t order[4 * ANSWERS];   /* the events, as they are answered */
static void (*arrange)(size_t count);
static size_t batch;                /* so many answers come before notices are pulled */

static ensi_pub_t *publish_all(size_t count)
{
    ensign_publisher_desc_t d;
    ensign_publisher_t handle;
    ensign_event_t e;
    ensi_pub_t *p;
    memset(&d, 0, sizeof d);
    memset(&e, 0, sizeof e);
    d.topic = "weather";
    d.max_in_flight = ENSI_PUB_IN_FLIGHT_MAX;
    d.buffer_bytes = 1 << 22;
    handle = ensign_publisher_open(client, &d);
    p = (ensi_pub_t *)(void *)ensi_handle_find(&client->handles, handle.id);
    for (e.tag = 0; e.tag < count; e.tag++)
        assert_int_equal(ensign_publish(client, handle, &e), ENSIGN_OK);
    return p;
}

static void tell(ensi_pub_t *p, const ensi_pb_publisher_reply_t *m)
{
    uint8_t bytes[512];
    size_t len = 0;
    assert_true(ensi_pb_encode(ensi_pb_publisher_reply_fields, m, bytes, sizeof bytes, &len));
    bare_message(&p->call, bytes, len);
}

/* The stream opens, and all events go out on it. */
static void send_all(ensi_pub_t *p)
{
    static const char map[] = "\x1a\x1b\x0a\x07weather\x12\x10weather-id-16byt";
    ensi_pb_publisher_reply_t m;
    ensi_pub_serve(client, &p->h);
    bare_submit(&p->call);
    p->call.s.headers_sent = p->call.s.headers_done = true;
    bare_take(&p->call, NULL, SIZE_MAX);
    memset(&m, 0, sizeof m);
    m.has_ready = true;
    m.ready.topics = ensign_str(map);
    tell(p, &m);
    ensi_pub_serve(client, &p->h);
    bare_take(&p->call, NULL, SIZE_MAX);
    assert_int_equal(p->sent, p->put);
    assert_int_equal(ensign_next_of(client, p->h.id)->type, ENSIGN_NOTICE_OPEN);
}

static void answer(ensi_pub_t *p, uint64_t count)
{
    ensi_pb_publisher_reply_t m;
    uint8_t id[ENSI_PUB_LOCAL_ID];
    ensi_put_be64(id, p->nonce);
    ensi_put_be64(id + 8, count);
    memset(&m, 0, sizeof m);
    m.has_ack = true;
    m.ack.id = ensi_slice(id, sizeof id);
    tell(p, &m);
}

/* Each batch of answers is served at once; then its notices are pulled, which come in the same order. */
static void answer_all(ensi_pub_t *p, size_t count)
{
    const ensign_notice_t *n;
    for (size_t given = 0, at = 0; at < count;) {
        for (size_t i = 0; i < batch && at < count; i++) answer(p, order[at++]);
        ensi_pub_serve(client, &p->h);
        while ((n = ensign_next_of(client, p->h.id)) != NULL) {
            assert_int_equal(n->type, ENSIGN_NOTICE_ACK);
            assert_int_equal(n->as.ack.tag, order[given++]);
        }
        assert_int_equal(given, at);
    }
    assert_int_equal(p->freed, count);
}

static uint64_t answers(size_t count)
{
    ensi_pub_t *p = publish_all(count);
    uint64_t before;
    arrange(count);
    send_all(p);
    before = steps;
    answer_all(p, count);
    before = steps - before;
    ensign_forget(client, p->h.id);
    return before;
}

static void forwards(size_t count)
{
    for (size_t i = 0; i < count; i++) order[i] = i;
}

static void backwards(size_t count)
{
    for (size_t i = 0; i < count; i++) order[i] = count - 1 - i;
}

static void shuffled(size_t count)
{
    forwards(count);
    for (size_t i = count; i > 1; i--) {
        size_t k = below((uint32_t)i), other = order[k];
        order[k] = order[i - 1];
        order[i - 1] = other;
    }
}

/* The first event is answered last, and all others in pairs of the nearest and the farthest. */
static void from_both_ends(size_t count)
{
    for (size_t i = 0; i + 1 < count; i++) order[i] = i % 2 ? count - 1 - i / 2 : 1 + i / 2;
    order[count - 1] = 0;
}

static void answers_come(void (*in_order)(size_t count))
{
    static const size_t batches[] = { 1, 2, 100 };
    arrange = in_order;
    for (size_t i = 0; i < COUNT(batches); i++) {
        batch = batches[i];
        grows_in_step(answers, ANSWERS);
    }
}

static void answers_in_order(void **state)
{
    (void)state;
    answers_come(forwards);
}

static void answers_in_reverse(void **state)
{
    (void)state;
    answers_come(backwards);
}

static void answers_in_any_order(void **state)
{
    (void)state;
    answers_come(shuffled);
}

static void answers_from_both_ends(void **state)
{
    (void)state;
    answers_come(from_both_ends);
}

/* ---------------------------------------------------------------- maps of topics */

enum { STREAMS = 100, TOPICS = 10000, PUBLISHER_REPLY_READY = 3 /* field */ };

static uint8_t map[TOPICS * 64];
static size_t map_len;

static void make_map(size_t topics)
{
    uint8_t entry[64], id[16] = { 0 };
    map_len = 0;
    for (size_t i = 0; i < topics; i++) {
        char name[32];
        uint8_t *p;
        snprintf(name, sizeof name, "a-topic-%zu", i);
        ensi_put_be32(id, (uint32_t)i);
        p = ensi_pb_put_bytes(entry, 1, ensign_str(name));
        p = ensi_pb_put_bytes(p, 2, ensi_slice(id, sizeof id));
        map_len = (size_t)(ensi_pb_put_bytes(map + map_len, ENSI_PB_STREAM_READY_TOPICS_TAG,
                                             ensi_slice(entry, (size_t)(p - entry))) - map);
    }
}

static ensi_pub_t *open_stream(void)
{
    static uint8_t bytes[sizeof map + 64];
    ensi_pub_t *p = publish_all(0);
    uint8_t *end;
    ensi_pub_serve(client, &p->h);
    bare_submit(&p->call);
    bare_take(&p->call, NULL, SIZE_MAX);
    end = ensi_pb_put_head(bytes, PUBLISHER_REPLY_READY, map_len);
    memcpy(end, map, map_len);
    bare_prefix(&p->call, (size_t)(end - bytes) + map_len);
    assert_true(ensi_rx_fit(&p->call.s.rx, &client->env.mem, 0));
    bare_store(&p->call, bytes, (size_t)(end - bytes) + map_len);
    ensi_pub_serve(client, &p->h);
    assert_int_equal(p->state, ENSI_PUB_READY);
    assert_int_equal(ensign_next_of(client, p->h.id)->as.open.topics, p->topics.count);
    ensi_pub_serve(client, &p->h);
    return p;
}

/* So many streams with a map of so many topics: the memory that they take. */
static size_t memory_of(ensi_pub_t *streams[], size_t count, size_t topics)
{
    size_t before = client->env.mem.used;
    make_map(topics);
    for (size_t i = 0; i < count; i++) streams[i] = open_stream();
    return client->env.mem.used - before;
}

/* A hundred publishers of a project with ten thousand topics have one map. A stream with another set of topics
 * has its own, and the last one that uses a map frees it. */
static void streams_have_one_map(void **state)
{
    static ensi_pub_t *small[STREAMS], *large[STREAMS], *other;
    const ensi_topics_block_t *shared;
    size_t few, most, before;
    (void)state;
    client->cache.cap = 0; /* which would take in the topics as well */
    few = memory_of(small, STREAMS, 1);
    before = client->env.mem.used;
    most = memory_of(large, STREAMS, TOPICS);
    shared = large[0]->topics.block;
    assert_true(most - few > map_len && most - few < ensi_topics_bound(map_len));
    assert_int_equal(shared->owners, 2 * STREAMS); /* each stream, and its OPEN notice, which stands */
    make_map(TOPICS - 1);
    other = open_stream();
    assert_ptr_not_equal(other->topics.block, shared);
    assert_int_equal(other->topics.count, TOPICS - 1);
    assert_int_equal(large[0]->topics.count, TOPICS);
    ensign_forget(client, other->h.id);
    for (size_t i = 0; i < STREAMS; i++) {
        assert_ptr_equal(large[i]->topics.block, shared);
        ensign_forget(client, large[i]->h.id);
    }
    assert_in_range(client->env.mem.used, 0, before + ENSI_MEM_KEEP * (ENSI_MEM_SMALL + ENSI_MEM_HEADER));
}

/* ---------------------------------------------------------------- topics in the cache */

static uint8_t id_of_topic[16];

static ensign_slice_t topic(size_t number, char name[32])
{
    ensi_put_be32(id_of_topic, (uint32_t)(number * 2654435761u)); /* in no order */
    snprintf(name, 32, "topic-%zu", number);
    return ensign_str(name);
}

/* Fills the cache, and replaces all of it. */
static uint64_t topics_listed(size_t count)
{
    ensi_cache_t *cache = &client->cache;
    uint64_t before = steps;
    char name[32], found[ENSI_TOPIC_NAME_MAX + 1];
    cache->cap = (uint32_t)count;
    for (size_t i = 0; i < 2 * count; i++)
        ensi_cache_put(cache, &client->env.mem, topic(i, name), id_of_topic, true);
    assert_int_equal(cache->count, count);
    for (size_t i = count; i < 2 * count; i++) {
        topic(i, name);
        assert_true(ensi_slice_is(ensi_cache_name(cache, id_of_topic, found), name));
    }
    before = steps - before;
    ensi_cache_free(cache, &client->env.mem);
    return before;
}

static void topics_in_the_cache(void **state)
{
    (void)state;
    grows_in_step(topics_listed, ENSI_CACHE_MAX / 4);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        BARE_TEST(answers_in_order),
        BARE_TEST(answers_in_reverse),
        BARE_TEST(answers_in_any_order),
        BARE_TEST(answers_from_both_ends),
        BARE_TEST(streams_have_one_map),
        BARE_TEST(topics_in_the_cache),
    };
    return cmocka_run_group_tests_name("growth", tests, NULL, NULL);
}
