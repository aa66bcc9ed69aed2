/* topic.c - the map of topics: what it finds, what it leaves out, what it costs */
#include <stddef.h>
#include <string.h>

static size_t compared;

static int counting_memcmp(const void *a, const void *b, size_t n)
{
    compared++;
    return memcmp(a, b, n);
}
#define memcmp counting_memcmp
#include "bare.h"
#undef memcmp

enum { MANY = 10000 };

static ensi_mem_t mem;
static uint8_t wire[1 << 20];
static size_t wire_len;

static int setup(void **state)
{
    (void)state;
    memset(&mem, 0, sizeof mem);
    mem.alloc = hook;
    wire_len = 0;
    no_memory = false;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ensi_mem_close(&mem);
    return mem.used == 0 ? 0 : -1;
}

static ensign_slice_t span(void)
{
    ensign_slice_t s;
    s.ptr = wire;
    s.len = wire_len;
    return s;
}

static void put(ensign_slice_t entry)
{
    uint8_t *end = ensi_pb_put_bytes(wire + wire_len, 3, entry);
    wire_len = (size_t)(end - wire);
}

static void add(const char *name, const void *id, size_t id_len)
{
    uint8_t entry[1024], *p = ensi_pb_put_bytes(entry, 1, ensign_str(name));
    p = ensi_pb_put_bytes(p, 2, ensi_slice(id, id_len));
    put(ensi_slice(entry, (size_t)(p - entry)));
}

static void number_id(uint8_t id[16], uint32_t n)
{
    memset(id, 0, 16);
    ensi_put_be32(id + 12, n);
}

static void expect(const ensi_topics_t *t, const char *name, const void *id)
{
    ensign_ulid_t got;
    assert_true(ensi_topics_id(t, ensign_str(name), &got));
    assert_memory_equal(got.b, id, 16);
}

static void expect_name(const ensi_topics_t *t, const void *id, const char *name)
{
    assert_true(ensi_slice_is(ensi_topics_name(t, ensi_slice(id, 16)), name));
}

static void an_empty_map_has_nothing(void **state)
{
    ensi_topics_t t;
    ensign_ulid_t id;
    (void)state;
    memset(&t, 0, sizeof t);
    assert_false(ensi_topics_id(&t, ensign_str("a"), &id));
    assert_int_equal(ensi_topics_name(&t, ensi_slice("0123456789abcdef", 16)).len, 0);
    assert_false(ensi_topics_same(&t, span()));
    assert_true(ensi_topics_build(&t, &mem, span()));
    assert_int_equal(t.count, 0);
    assert_true(ensi_topics_same(&t, span()));
    assert_false(ensi_topics_id(&t, ensign_str("a"), &id));
    assert_false(ensi_topics_id(&t, ensign_str(""), &id));
    assert_int_equal(ensi_topics_name(&t, ensi_slice("0123456789abcdef", 16)).len, 0);
    ensi_topics_free(&t, &mem);
    assert_null(t.block);
}

static void names_and_ids_are_found(void **state)
{
    ensi_topics_t t;
    ensign_ulid_t id;
    (void)state;
    add("weather", "weather-id-16byt", 16);
    add("traffic", "traffic-id-16byt", 16);
    assert_true(ensi_topics_build(&t, &mem, span()));
    wire[5] ^= 1; /* the map is a copy */
    expect(&t, "weather", "weather-id-16byt");
    expect(&t, "traffic", "traffic-id-16byt");
    expect_name(&t, "traffic-id-16byt", "traffic");
    assert_false(ensi_topics_id(&t, ensign_str("weathe"), &id));
    assert_false(ensi_topics_id(&t, ensign_str("weather2"), &id));
    assert_int_equal(ensi_topics_name(&t, ensi_slice("weather-id-15by", 15)).len, 0);
    assert_int_equal(ensi_topics_name(&t, ensi_slice("no-such-id-16byt", 16)).len, 0);
    ensi_topics_free(&t, &mem);
}

static void the_later_of_two_counts(void **state)
{
    ensi_topics_t t;
    (void)state;
    add("a", "first-id--16byte", 16);
    add("b", "first-id--16byte", 16);
    add("a", "second-id-16byte", 16);
    assert_true(ensi_topics_build(&t, &mem, span()));
    expect(&t, "a", "second-id-16byte");
    expect(&t, "b", "first-id--16byte");
    expect_name(&t, "first-id--16byte", "b");
    expect_name(&t, "second-id-16byte", "a");
    ensi_topics_free(&t, &mem);
}

static void what_is_no_entry_is_left_out(void **state)
{
    static const uint8_t other[] = { 0x08, 1, 0x12, 1, 'x' }; /* fields 1 and 2 of the ready message */
    ensi_topics_t t;
    ensign_ulid_t id;
    (void)state;
    add("", "nameless--16byte", 16);
    add("short", "id", 2);
    add("long", "seventeen-bytes-17", 17);
    put(ensi_slice("\x0a\x7f", 2));     /* cut */
    put(ensi_slice("\x08\x05", 2));     /* the name is a number */
    put(ensi_slice(NULL, 0));
    memcpy(wire + wire_len, other, sizeof other);
    wire_len += sizeof other;
    add("good", "good-id-of-16byt", 16);
    assert_true(ensi_topics_build(&t, &mem, span()));
    assert_int_equal(t.count, 1);
    expect(&t, "good", "good-id-of-16byt");
    assert_false(ensi_topics_id(&t, ensign_str("short"), &id));
    assert_false(ensi_topics_id(&t, ensign_str("long"), &id));
    ensi_topics_free(&t, &mem);
}

static void the_same_map_is_known(void **state)
{
    ensi_topics_t t;
    (void)state;
    add("a", "first-id--16byte", 16);
    assert_true(ensi_topics_build(&t, &mem, span()));
    assert_true(ensi_topics_same(&t, span()));
    wire[wire_len - 1] ^= 1;
    assert_false(ensi_topics_same(&t, span()));
    wire[wire_len - 1] ^= 1;
    add("b", "second-id-16byte", 16);
    assert_false(ensi_topics_same(&t, span()));
    ensi_topics_free(&t, &mem);
}

static void without_memory_nothing_changes(void **state)
{
    ensi_topics_t t;
    (void)state;
    add("a", "first-id--16byte", 16);
    assert_true(ensi_topics_build(&t, &mem, span()));
    for (int i = 0; i < 20; i++) add("b", "second-id-16byte", 16);
    no_memory = true;
    assert_false(ensi_topics_build(&t, &mem, span()));
    expect(&t, "a", "first-id--16byte");
    ensi_topics_free(&t, &mem);
}

static void ten_thousand_names(void **state)
{
    char name[24];
    uint8_t id[16];
    ensi_topics_t t;
    (void)state;
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "t%lu", (unsigned long)i);
        number_id(id, i);
        add(name, id, 16);
    }
    assert_true(ensi_topics_build(&t, &mem, span()));
    assert_int_equal(t.count, MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "t%lu", (unsigned long)i);
        number_id(id, i);
        expect(&t, name, id);
        expect_name(&t, id, name);
    }
    ensi_topics_free(&t, &mem);
}

static void the_last_owner_frees_a_map(void **state)
{
    ensi_topics_t t, second, third, none;
    size_t used;
    (void)state;
    memset(&none, 0, sizeof none);
    second = ensi_topics_share(&none); /* no map: nothing to count */
    assert_null(second.block);
    ensi_topics_free(&second, &mem);
    for (int i = 0; i < 20; i++) add("a", "first-id--16byte", 16); /* no small block, which mem would keep */
    assert_true(ensi_topics_build(&t, &mem, span()));
    used = mem.used;
    second = ensi_topics_share(&t);
    third = ensi_topics_share(&second);
    assert_ptr_equal(third.block, t.block);
    assert_int_equal(t.block->owners, 3);
    assert_int_equal(mem.used, used); /* a share costs nothing */
    ensi_topics_free(&t, &mem);
    assert_null(t.block);
    assert_int_equal(t.count, 0);
    expect(&third, "a", "first-id--16byte");
    ensi_topics_free(&third, &mem);
    assert_int_equal(second.block->owners, 1);
    expect(&second, "a", "first-id--16byte");
    assert_int_equal(mem.used, used);
    ensi_topics_free(&second, &mem);
    assert_true(mem.used < used);
}

/* A stream that brings the same map keeps the block; another map leaves the old one to those who share it. */
static void a_new_map_leaves_the_shared_one_alone(void **state)
{
    ensi_topics_t t, told;
    ensign_ulid_t id;
    const ensi_topics_block_t *block;
    ensi_topics_block_t *all = NULL;
    ensi_cache_t cache;
    (void)state;
    memset(&t, 0, sizeof t);
    memset(&cache, 0, sizeof cache); /* off */
    add("a", "first-id--16byte", 16);
    assert_true(ensi_topics_renew(&t, &all, &cache, &mem, span()));
    block = t.block;
    assert_true(ensi_topics_renew(&t, &all, &cache, &mem, span()));
    assert_ptr_equal(t.block, block);
    told = ensi_topics_share(&t);
    add("b", "second-id-16byte", 16);
    assert_true(ensi_topics_renew(&t, &all, &cache, &mem, span()));
    expect(&t, "b", "second-id-16byte");
    assert_ptr_equal(told.block, block);
    expect(&told, "a", "first-id--16byte");
    assert_false(ensi_topics_id(&told, ensign_str("b"), &id));
    no_memory = true;
    add("c", "third-id--16byte", 16);
    for (int i = 0; i < 20; i++) add("d", "fourth-id-16byte", 16); /* no small block that is kept will do */
    assert_false(ensi_topics_renew(&t, &all, &cache, &mem, span()));
    assert_null(t.block); /* no memory: the map is empty */
    expect(&told, "a", "first-id--16byte");
    ensi_topics_free(&told, &mem);
}

/* The tree of maps: the place of each is on the way of its hash, and knows what it hangs on. */
static size_t attached(ensi_topics_block_t **at, uint64_t way, size_t depth)
{
    ensi_topics_block_t *b = *at;
    if (!b) return 0;
    assert_ptr_equal(b->at, at);
    assert_true(depth <= 64);
    assert_int_equal(depth ? b->hash << (64 - depth) : 0, depth ? way << (64 - depth) : 0);
    return 1 + attached(&b->side[0], way, depth + 1) +
           attached(&b->side[1], way | (depth < 64 ? (uint64_t)1 << depth : 0), depth + 1);
}

/* Streams take one map after another; those with equal bytes share, and all others have their own. */
static void streams_share_equal_maps(void **state)
{
    enum { STREAMS = 40, MAPS = 30 };
    ensi_topics_t streams[STREAMS];
    uint32_t has[STREAMS];      /* which map, from 1; 0: none */
    ensi_topics_block_t *root = NULL;
    ensi_cache_t cache;
    char name[24];
    (void)state;
    memset(streams, 0, sizeof streams);
    memset(has, 0, sizeof has);
    memset(&cache, 0, sizeof cache);
    seed = 1;
    for (int turn = 0; turn < 5000; turn++) {
        uint32_t i = below(STREAMS), k = 1 + below(MAPS);
        size_t distinct = 0;
        if (below(4) == 0) {
            ensi_topics_free(&streams[i], &mem);
            has[i] = 0;
        } else {
            wire_len = 0;
            snprintf(name, sizeof name, "topic-%u", (unsigned)k);
            add(name, "first-id--16byte", 16);
            assert_true(ensi_topics_renew(&streams[i], &root, &cache, &mem, span()));
            has[i] = k;
        }
        for (uint32_t a = 0; a < STREAMS; a++) {
            uint32_t owners = 0, first = a;
            for (uint32_t b = 0; b < STREAMS; b++) {
                if (has[a] != has[b]) continue;
                assert_ptr_equal(streams[a].block, streams[b].block);
                owners++;
                if (b < first) first = b;
            }
            if (has[a] == 0) continue;
            assert_int_equal(streams[a].block->owners, owners);
            snprintf(name, sizeof name, "topic-%u", (unsigned)has[a]);
            expect(&streams[a], name, "first-id--16byte");
            distinct += first == a;
        }
        assert_int_equal(attached(&root, 0, 0), distinct);
    }
    for (int i = 0; i < STREAMS; i++) ensi_topics_free(&streams[i], &mem);
    assert_null(root);
}

/* Two maps with one hash are two maps. */
static void a_hash_is_not_the_bytes(void **state)
{
    ensi_topics_t first, second, third;
    ensi_topics_block_t *root = NULL;
    ensi_cache_t cache;
    (void)state;
    memset(&first, 0, sizeof first);
    memset(&second, 0, sizeof second);
    memset(&third, 0, sizeof third);
    memset(&cache, 0, sizeof cache);
    add("a", "first-id--16byte", 16);
    assert_true(ensi_topics_renew(&first, &root, &cache, &mem, span()));
    wire_len = 0;
    add("b", "second-id-16byte", 16);
    first.block->hash = ensi_topics_hash(span()); /* as if it were */
    assert_true(ensi_topics_renew(&second, &root, &cache, &mem, span()));
    assert_ptr_not_equal(first.block, second.block);
    assert_null(second.block->at);
    expect(&first, "a", "first-id--16byte");
    expect(&second, "b", "second-id-16byte");
    ensi_topics_free(&second, &mem); /* which leaves the tree alone */
    assert_ptr_equal(root, first.block);
    assert_true(ensi_topics_renew(&third, &root, &cache, &mem, span()));
    ensi_topics_free(&first, &mem);
    assert_null(root);
    expect(&third, "b", "second-id-16byte");
    ensi_topics_free(&third, &mem);
}

static void expect_next(const ensi_topics_t *t, size_t *at, const char *name, const char *id)
{
    ensign_slice_t got;
    ensign_ulid_t got_id;
    assert_true(ensi_topics_next(t, at, &got, &got_id));
    assert_true(ensi_slice_is(got, name));
    assert_memory_equal(got_id.b, id, 16);
}

static void each_name_is_walked_once(void **state)
{
    ensi_topics_t t;
    ensign_slice_t name;
    ensign_ulid_t id;
    size_t at = 0;
    (void)state;
    memset(&t, 0, sizeof t);
    assert_false(ensi_topics_next(&t, &at, &name, &id));
    add("again", "first-id--16byte", 16);
    add("b", "second-id-16byte", 16);
    add("again", "third-id--16byte", 16);
    add("twin", "second-id-16byte", 16); /* another name of one id is another topic to ask for */
    add("again", "fourth-id-16byte", 16);
    assert_true(ensi_topics_build(&t, &mem, span()));
    expect_next(&t, &at, "b", "second-id-16byte");
    expect_next(&t, &at, "twin", "second-id-16byte");
    expect_next(&t, &at, "again", "fourth-id-16byte"); /* the later one counts, as where it is looked for */
    assert_false(ensi_topics_next(&t, &at, &name, &id));
    assert_false(ensi_topics_next(&t, &at, &name, &id));
    ensi_topics_free(&t, &mem);
}

static void what_a_map_lacks_is_told_as_it_was_asked_for(void **state)
{
    static const uint8_t zeros[16];
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz"; /* as long as an id's text, and a name */
    ensi_topics_t t;
    ensign_slice_t name;
    ensign_ulid_t id, there, absent;
    char text[27];
    (void)state;
    memcpy(there.b, "first-id--16byte", 16);
    memcpy(absent.b, "second-id-16byte", 16);
    add("a", there.b, 16);
    add(letters, there.b, 16);
    assert_true(ensi_topics_build(&t, &mem, span()));
    assert_false(ensi_topics_lacks(&t, ensign_str("a"), &name, &id));
    assert_false(ensi_topics_lacks(&t, ensign_str(letters), &name, &id));
    ensign_ulid_text(there, text);
    assert_false(ensi_topics_lacks(&t, ensign_str(text), &name, &id));
    assert_true(ensi_topics_lacks(&t, ensign_str("A"), &name, &id));
    assert_true(ensi_slice_is(name, "A"));
    assert_memory_equal(id.b, zeros, 16);
    ensign_ulid_text(absent, text);
    assert_true(ensi_topics_lacks(&t, ensign_str(text), &name, &id));
    assert_int_equal(name.len, 0);
    assert_memory_equal(id.b, absent.b, 16);
    ensi_topics_free(&t, &mem);
    assert_true(ensi_topics_lacks(&t, ensign_str("a"), &name, &id)); /* an empty map lacks everything */
    assert_true(ensi_slice_is(name, "a"));
}

/* The bounds of publishers and subscriptions count on this: twice the map, whatever it holds. */
static void the_block_is_bounded_by_the_map(void **state)
{
    static const size_t counts[] = { 1, 2, 3, 5, 9, 17, 1025, 8193 };
    ensi_topics_t t;
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        wire_len = 0;
        for (size_t k = 0; k < counts[i]; k++) add("x", "first-id--16byte", 16); /* the shortest entries */
        assert_true(ensi_topics_build(&t, &mem, span()));
        assert_true(ensi_mem_size(t.block) <=
                    ensi_max(ensi_topics_bound(wire_len) - ENSI_MEM_HEADER, ENSI_MEM_SMALL));
        ensi_topics_free(&t, &mem);
    }
    wire_len = 0;
    while (wire_len < 100000) put(ensi_slice(NULL, 0)); /* entries that are none cost nothing */
    assert_true(ensi_topics_build(&t, &mem, span()));
    assert_true(ensi_mem_size(t.block) <= wire_len + sizeof(ensi_topics_block_t));
    ensi_topics_free(&t, &mem);
}

/* A heap compares twice on each level of a way down, on one and a half ways for each of two orders. */
static void takes_as_long_as_any(size_t count)
{
    ensi_topics_t t;
    size_t levels = 1;
    while (count >> levels) levels++;
    compared = 0;
    assert_true(ensi_topics_build(&t, &mem, span()));
    assert_int_equal(t.count, count);
    assert_in_range(compared, count, 6 * count * levels);
    compared = 0;
    assert_int_equal(ensi_topics_name(&t, ensi_slice("0123456789abcdef", 16)).len, 0);
    assert_in_range(compared, 1, levels + 2);
    ensi_topics_free(&t, &mem);
}

/* A server that repeats one name must not make the map slow. */
static void one_name_many_times(void **state)
{
    ensi_topics_t t;
    size_t count = 0;
    (void)state;
    for (; wire_len < sizeof wire - 100; count++) add("again", "first-id--16byte", 16);
    assert_true(ensi_topics_build(&t, &mem, span()));
    expect(&t, "again", "first-id--16byte");
    ensi_topics_free(&t, &mem);
    takes_as_long_as_any(count);
}

/* Nor one that chooses ids for what a hash makes of them: the low bits of these are one number by FNV-1a. */
static void ids_that_are_alike(void **state)
{
    uint8_t id[16] = { 0 };
    size_t count = 0;
    (void)state;
    for (uint32_t n = 0; count < 1000; n++) {
        uint32_t h = 2166136261u;
        char name[24];
        ensi_put_be32(id + 12, n);
        for (size_t i = 0; i < sizeof id; i++) h = (h ^ id[i]) * 16777619u;
        if (h % 2048 != 77) continue;
        snprintf(name, sizeof name, "topic-%u", (unsigned)count++);
        add(name, id, 16);
    }
    takes_as_long_as_any(count);
}

/* Many topics that push one another out of a cache that is nearly full. */
static void a_cache_is_filled_in_time(void **state)
{
    ensi_topics_t t;
    ensi_cache_t cache;
    uint8_t id[16];
    char name[24];
    uint32_t count = 0;
    (void)state;
    memset(&cache, 0, sizeof cache);
    cache.cap = ENSI_CACHE_MAX;
    for (; wire_len < sizeof wire - 100; count++) {
        number_id(id, count < ENSI_CACHE_MAX - 1 ? count : 7);
        snprintf(name, sizeof name, "topic-%u", (unsigned)count);
        add(name, id, 16);
    }
    assert_true(ensi_topics_build(&t, &mem, span()));
    compared = 0;
    ensi_cache_fill(&cache, &mem, &t);
    assert_int_equal(cache.count, ENSI_CACHE_MAX - 1);
    assert_non_null(ensi_cache_find(&cache, ensign_str(name)));
    assert_null(ensi_cache_find(&cache, ensign_str("topic-7")));
    assert_in_range(compared, count, 2 * 17 * count + 6 * 13 * (size_t)ENSI_CACHE_MAX); /* 2^17, 2^13 */
    ensi_cache_free(&cache, &mem);
    ensi_topics_free(&t, &mem);
}

/* A cache that is searched one by one: the truth about the other. */
enum { PLACES = 7 };
static struct { char name[8]; uint8_t id[16]; uint64_t used; } plain[PLACES];
static size_t plain_count;

static void plain_drop(size_t i)
{
    plain[i] = plain[--plain_count];
}

static void plain_put(const char *name, const uint8_t *id, uint64_t now, bool replace)
{
    size_t oldest = 0;
    for (size_t i = plain_count; i-- > 0;)
        if (strcmp(plain[i].name, name) == 0 || memcmp(plain[i].id, id, 16) == 0) plain_drop(i);
    for (size_t i = 1; i < plain_count; i++)
        if (plain[i].used < plain[oldest].used) oldest = i;
    if (plain_count == PLACES && !replace) return;
    if (plain_count == PLACES) plain_drop(oldest);
    strcpy(plain[plain_count].name, name);
    memcpy(plain[plain_count].id, id, 16);
    plain[plain_count++].used = now;
}

static void agrees(const ensi_cache_t *cache)
{
    assert_int_equal(cache->count, plain_count);
    for (size_t i = 0; i < plain_count; i++) {
        const ensi_cached_t *x = ensi_cache_find(cache, ensign_str(plain[i].name));
        assert_non_null(x);
        assert_string_equal(x->name, plain[i].name);
        assert_memory_equal(x->id.b, plain[i].id, 16);
        assert_ptr_equal(ensi_cache_find_id(cache, plain[i].id), x);
    }
    for (size_t i = 1; i < cache->count; i++) {
        assert_true(strcmp(cache->entries[cache->by_name[i - 1]].name,
                           cache->entries[cache->by_name[i]].name) < 0);
        assert_true(memcmp(cache->entries[cache->by_id[i - 1]].id.b, cache->entries[cache->by_id[i]].id.b,
                           16) < 0);
    }
}

/* Names and ids change their partners, entries go and come, the least recently used one makes room. */
static void a_cache_against_a_plain_one(void **state)
{
    ensi_cache_t cache;
    char name[8], out[ENSI_TOPIC_NAME_MAX + 1];
    uint8_t id[16];
    (void)state;
    memset(&cache, 0, sizeof cache);
    cache.cap = PLACES;
    plain_count = 0;
    seed = 1;
    for (uint64_t now = 1; now < 20000; now++) {
        uint32_t what = below(9);
        snprintf(name, sizeof name, "t%u", (unsigned)below(12));
        number_id(id, below(12));
        if (what < 6) {
            ensi_cache_put(&cache, &mem, ensign_str(name), id, what < 5);
            plain_put(name, id, now, what < 5);
        } else if (what < 8) {
            ensign_slice_t found = ensi_cache_name(&cache, id, out);
            for (size_t i = 0; i < plain_count; i++) {
                if (memcmp(plain[i].id, id, 16) != 0) continue;
                assert_true(ensi_slice_is(found, plain[i].name));
                plain[i].used = now;
                found.len = 0;
            }
            assert_int_equal(found.len, 0); /* in none of the two, or in both */
        } else if (what == 8) {
            ensi_cache_drop(&cache, &mem, ensi_cache_find(&cache, ensign_str(name)));
            for (size_t i = plain_count; i-- > 0;)
                if (strcmp(plain[i].name, name) == 0) plain_drop(i);
        }
        agrees(&cache);
    }
    ensi_cache_free(&cache, &mem);
}

/* Without memory for a name what the cache has is still whole. */
static void a_cache_without_memory(void **state)
{
    ensi_cache_t cache;
    char name[300];
    uint8_t id[16];
    (void)state;
    memset(&cache, 0, sizeof cache);
    cache.cap = PLACES;
    no_memory = true;
    number_id(id, 1);
    ensi_cache_put(&cache, &mem, ensign_str("a"), id, true);
    assert_null(cache.entries);
    no_memory = false;
    ensi_cache_put(&cache, &mem, ensign_str("a"), id, true);
    memset(name, 'n', sizeof name); /* longer than a small block */
    no_memory = true;
    number_id(id, 2);
    ensi_cache_put(&cache, &mem, ensi_slice(name, sizeof name), id, true);
    assert_int_equal(cache.count, 1);
    assert_non_null(ensi_cache_find(&cache, ensign_str("a")));
    assert_null(ensi_cache_find_id(&cache, id));
    ensi_cache_free(&cache, &mem);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_map_has_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(names_and_ids_are_found, setup, teardown),
        cmocka_unit_test_setup_teardown(the_later_of_two_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_entry_is_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_map_is_known, setup, teardown),
        cmocka_unit_test_setup_teardown(without_memory_nothing_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(ten_thousand_names, setup, teardown),
        cmocka_unit_test_setup_teardown(the_last_owner_frees_a_map, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_map_leaves_the_shared_one_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(streams_share_equal_maps, setup, teardown),
        cmocka_unit_test_setup_teardown(a_hash_is_not_the_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(each_name_is_walked_once, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_map_lacks_is_told_as_it_was_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(the_block_is_bounded_by_the_map, setup, teardown),
        cmocka_unit_test_setup_teardown(one_name_many_times, setup, teardown),
        cmocka_unit_test_setup_teardown(ids_that_are_alike, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cache_is_filled_in_time, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cache_against_a_plain_one, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cache_without_memory, setup, teardown),
    };
    return cmocka_run_group_tests_name("topic", tests, NULL, NULL);
}
