/* event.c - what outlives a notice, and what is read out of one: flat copies of events, the lists in a
 * topic's record */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- copies */

/* Where the slices of an event point, in the order of the struct. */
enum { DATA, TYPE, METADATA, KEY, ENCRYPTION, COMPRESSION, NAME, WHO, CLIENT, ADDRESS, AGENT, SLICES };

static ensign_slice_t *slice_of(ensign_event_t *e, size_t i)
{
    ensign_slice_t *const all[SLICES] = {
        &e->data, &e->type.name, &e->metadata, &e->key, &e->encryption, &e->compression,
        &e->topic_name, &e->publisher_id, &e->publisher_client_id, &e->publisher_address,
        &e->publisher_agent,
    };
    return all[i];
}

/* An event and all that it points at, each part in a block of its own and of just its size. */
typedef struct source_t {
    ensign_event_t *e;
    uint8_t *parts[SLICES];
    char *topic, *texts[4];
    ensign_pair_t *pairs;
} source_t;

static void *block(const void *bytes, size_t len)
{
    void *p = malloc(len);
    assert_non_null(p);
    memcpy(p, bytes, len);
    return p;
}

/* Part i: 3 * i + 1 bytes, all of them another letter; so no two parts are alike, and ends are odd. */
static void part(uint8_t *out, size_t i)
{
    memset(out, (int)('A' + i), 3 * i + 1);
}

static void open_source(source_t *s)
{
    static const char *const texts[4] = { "first", "1", "the second", "" };
    ensign_event_t e;
    memset(&e, 0, sizeof e);
    for (size_t i = 0; i < SLICES; i++) {
        uint8_t bytes[3 * SLICES];
        part(bytes, i);
        s->parts[i] = (uint8_t *)block(bytes, 3 * i + 1);
        *slice_of(&e, i) = ensi_slice(s->parts[i], 3 * i + 1);
    }
    for (size_t i = 0; i < 4; i++) s->texts[i] = (char *)block(texts[i], strlen(texts[i]) + 1);
    s->pairs = (ensign_pair_t *)malloc(2 * sizeof *s->pairs);
    assert_non_null(s->pairs);
    for (size_t i = 0; i < 2; i++) {
        s->pairs[i].key = s->texts[2 * i];
        s->pairs[i].value = s->texts[2 * i + 1];
    }
    s->topic = (char *)block("a.topic", 8);
    e.mimetype = -7;
    e.type.major = 1;
    e.type.minor = 2;
    e.type.patch = UINT32_MAX;
    e.created.seconds = INT64_MIN;
    e.created.nanos = 999999999;
    e.topic = s->topic;
    memset(e.to_topic_id.b, 0x42, sizeof e.to_topic_id.b);
    e.pairs = s->pairs;
    e.pair_count = 2;
    e.tag = UINT64_MAX - 1;
    memset(e.id.b, 0x43, sizeof e.id.b);
    memset(e.topic_id.b, 0x44, sizeof e.topic_id.b);
    e.committed.seconds = 1700000000;
    e.committed.nanos = 5;
    e.offset = 6;
    e.epoch = 7;
    memset(e.duplicate_of.b, 0x45, sizeof e.duplicate_of.b);
    e.token = 8;
    s->e = (ensign_event_t *)block(&e, sizeof e);
}

/* Overwritten first: a copy that points into it shows rubbish even where nothing watches freed memory. */
static void close_source(source_t *s)
{
    for (size_t i = 0; i < SLICES; i++) {
        memset(s->parts[i], 0xEE, 3 * i + 1);
        free(s->parts[i]);
    }
    for (size_t i = 0; i < 4; i++) {
        memset(s->texts[i], '!', strlen(s->texts[i]));
        free(s->texts[i]);
    }
    memset(s->topic, '!', 7);
    memset(s->pairs, 0xEE, 2 * sizeof *s->pairs);
    memset(s->e, 0xEE, sizeof *s->e);
    free(s->topic);
    free(s->pairs);
    free(s->e);
}

static bool all_are(const uint8_t *p, size_t n, uint8_t want)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != want) return false;
    return true;
}

static void expect_source(ensign_event_t *e)
{
    for (size_t i = 0; i < SLICES; i++) {
        uint8_t want[3 * SLICES];
        part(want, i);
        assert_int_equal(slice_of(e, i)->len, 3 * i + 1);
        assert_memory_equal(slice_of(e, i)->ptr, want, 3 * i + 1);
    }
    assert_int_equal(e->mimetype, -7);
    assert_true(e->type.major == 1 && e->type.minor == 2 && e->type.patch == UINT32_MAX);
    assert_true(e->created.seconds == INT64_MIN && e->created.nanos == 999999999);
    assert_string_equal(e->topic, "a.topic");
    assert_true(all_are(e->to_topic_id.b, 16, 0x42));
    assert_int_equal(e->pair_count, 2);
    assert_string_equal(e->pairs[0].key, "first");
    assert_string_equal(e->pairs[0].value, "1");
    assert_string_equal(e->pairs[1].key, "the second");
    assert_string_equal(e->pairs[1].value, "");
    assert_true(e->tag == UINT64_MAX - 1);
    assert_true(all_are(e->id.b, 10, 0x43));
    assert_true(all_are(e->topic_id.b, 16, 0x44));
    assert_true(e->committed.seconds == 1700000000 && e->committed.nanos == 5);
    assert_true(e->offset == 6 && e->epoch == 7 && e->token == 8);
    assert_true(all_are(e->duplicate_of.b, 10, 0x45));
}

static bool within(const void *p, size_t len, const void *buf, size_t size)
{
    uintptr_t at = (uintptr_t)p, from = (uintptr_t)buf;
    return at >= from && at - from <= size && len <= size - (at - from);
}

/* All that the event points at lies in the block. */
static void expect_flat(ensign_event_t *e, const void *buf, size_t size)
{
    assert_true(within(e, sizeof *e, buf, size));
    for (size_t i = 0; i < SLICES; i++)
        assert_true(slice_of(e, i)->len == 0 || within(slice_of(e, i)->ptr, slice_of(e, i)->len, buf, size));
    if (e->topic) assert_true(within(e->topic, strlen(e->topic) + 1, buf, size));
    if (e->pair_count) assert_true(within(e->pairs, e->pair_count * sizeof *e->pairs, buf, size));
    for (size_t i = 0; i < e->pair_count; i++) {
        assert_true(within(e->pairs[i].key, strlen(e->pairs[i].key) + 1, buf, size));
        assert_true(within(e->pairs[i].value, strlen(e->pairs[i].value) + 1, buf, size));
    }
}

/* What is needed, as the call says it with no buf. */
static size_t needed(const ensign_event_t *e)
{
    ensign_event_t *out = (ensign_event_t *)1;
    size_t size = 0, any = SIZE_MAX;
    assert_int_equal(ensign_event_copy(e, NULL, &size, &out), ENSIGN_E_TOO_LARGE);
    assert_int_equal(ensign_event_copy(e, NULL, &any, &out), ENSIGN_E_TOO_LARGE); /* NULL holds nothing */
    assert_int_equal(any, size);
    assert_true(out == (ensign_event_t *)1);
    return size;
}

static void a_copy_has_every_field_and_stands_alone(void **state)
{
    source_t s;
    ensign_event_t *copy = NULL, *again = NULL;
    size_t size, more;
    void *buf, *second;
    (void)state;
    open_source(&s);
    size = needed(s.e);
    buf = malloc(size);
    assert_non_null(buf);
    assert_int_equal(ensign_event_copy(s.e, buf, &size, &copy), ENSIGN_OK);
    expect_source(s.e); /* which is left alone */
    close_source(&s);
    expect_flat(copy, buf, size);
    expect_source(copy);
    more = size + 1000; /* room to spare: what is used comes back */
    second = malloc(more);
    assert_non_null(second);
    assert_int_equal(ensign_event_copy(copy, second, &more, &again), ENSIGN_OK);
    assert_int_equal(more, size);
    memset(buf, 0xEE, size);
    free(buf);
    expect_flat(again, second, more);
    expect_source(again);
    free(second);
}

static void a_block_one_byte_short_is_not_touched(void **state)
{
    source_t s;
    ensign_event_t *out = (ensign_event_t *)1;
    size_t need, size;
    uint8_t *buf;
    (void)state;
    open_source(&s);
    need = needed(s.e);
    buf = (uint8_t *)malloc(need);
    assert_non_null(buf);
    memset(buf, 0xAA, need);
    for (size_t have = 0; have < need; have = have < 8 || have >= need - 9 ? have + 1 : need - 9) {
        size = have;
        assert_int_equal(ensign_event_copy(s.e, buf, &size, &out), ENSIGN_E_TOO_LARGE);
        assert_int_equal(size, need);
        assert_true(out == (ensign_event_t *)1);
        assert_true(all_are(buf, need, 0xAA));
    }
    size = need;
    assert_int_equal(ensign_event_copy(s.e, buf, &size, &out), ENSIGN_OK);
    assert_int_equal(size, need);
    free(buf);
    close_source(&s);
}

/* Each part alone, and all but one: a part that is counted and not copied, or the other way, is seen. */
static void any_part_may_lack(void **state)
{
    source_t s;
    (void)state;
    open_source(&s);
    for (size_t i = 0; i < 2 * SLICES; i++) {
        ensign_event_t e = *s.e, *copy = NULL;
        size_t size;
        void *buf;
        for (size_t k = 0; k < SLICES; k++)
            if ((k == i % SLICES) == (i < SLICES)) *slice_of(&e, k) = ensi_slice(NULL, 0);
        if (i % 2) e.topic = NULL;
        if (i % 3) e.pair_count = 0;
        size = needed(&e);
        buf = malloc(size);
        assert_non_null(buf);
        assert_int_equal(ensign_event_copy(&e, buf, &size, &copy), ENSIGN_OK);
        expect_flat(copy, buf, size);
        for (size_t k = 0; k < SLICES; k++) {
            assert_int_equal(slice_of(copy, k)->len, slice_of(&e, k)->len);
            if (slice_of(&e, k)->len)
                assert_memory_equal(slice_of(copy, k)->ptr, slice_of(&e, k)->ptr, slice_of(&e, k)->len);
        }
        if (e.topic) assert_string_equal(copy->topic, e.topic);
        else assert_null(copy->topic);
        assert_int_equal(copy->pair_count, e.pair_count);
        free(buf);
    }
    close_source(&s);
}

static void an_empty_event_is_its_struct(void **state)
{
    ensign_event_t e, *copy = NULL;
    size_t size;
    void *buf;
    (void)state;
    memset(&e, 0, sizeof e);
    size = needed(&e);
    assert_in_range(size, sizeof e, sizeof e + 15); /* and what rounds it */
    buf = malloc(size);
    assert_non_null(buf);
    assert_int_equal(ensign_event_copy(&e, buf, &size, &copy), ENSIGN_OK);
    for (size_t i = 0; i < SLICES; i++) assert_int_equal(slice_of(copy, i)->len, 0);
    assert_null(copy->topic);
    assert_int_equal(copy->pair_count, 0);
    assert_true(copy->tag == 0 && copy->token == 0 && copy->created.seconds == 0 && copy->mimetype == 0);
    e.topic = ""; /* an empty text is one */
    size = 0;
    assert_int_equal(ensign_event_copy(&e, NULL, &size, &copy), ENSIGN_E_TOO_LARGE);
    free(buf);
    buf = malloc(size);
    assert_non_null(buf);
    assert_int_equal(ensign_event_copy(&e, buf, &size, &copy), ENSIGN_OK);
    assert_string_equal(copy->topic, "");
    free(buf);
}

static void a_copy_without_its_arguments_is_refused(void **state)
{
    ensign_event_t e, room[4], *out = (ensign_event_t *)1;
    size_t size = sizeof room;
    (void)state;
    memset(&e, 0, sizeof e);
    assert_int_equal(ensign_event_copy(NULL, room, &size, &out), ENSIGN_E_ARGUMENT);
    assert_int_equal(ensign_event_copy(&e, room, NULL, &out), ENSIGN_E_ARGUMENT);
    assert_int_equal(ensign_event_copy(&e, room, &size, NULL), ENSIGN_E_ARGUMENT);
    assert_int_equal(size, sizeof room);
    assert_true(out == (ensign_event_t *)1);
}

static void large_data_is_copied_whole(void **state)
{
    const size_t n = 3 * 1024 * 1024 + 1;
    uint8_t *data = (uint8_t *)malloc(n);
    ensign_event_t e, *copy = NULL;
    size_t size;
    void *buf;
    (void)state;
    assert_non_null(data);
    for (size_t i = 0; i < n; i++) data[i] = (uint8_t)(i * 31 >> 3);
    memset(&e, 0, sizeof e);
    e.data = ensi_slice(data, n);
    size = needed(&e);
    assert_in_range(size, n + sizeof e, n + sizeof e + 32);
    buf = malloc(size);
    assert_non_null(buf);
    assert_int_equal(ensign_event_copy(&e, buf, &size, &copy), ENSIGN_OK);
    assert_int_equal(copy->data.len, n);
    assert_memory_equal(copy->data.ptr, data, n);
    free(data);
    free(buf);
}

/* ---- the lists of a topic's record: fields 3 and 4 of its deduplication, field 13 of the topic */

static bool same(ensign_slice_t s, const char *text)
{
    return s.len == strlen(text) && (s.len == 0 || memcmp(s.ptr, text, s.len) == 0);
}

/* Keys "color" and "", fields "a.b" and "a.b" again, unknown fields of all wire types between. */
static const uint8_t policy[] = {
    0x08, 4, 0x1A, 5, 'c', 'o', 'l', 'o', 'r',
    0x22, 3, 'a', '.', 'b', 0x10, 1,
    0x31, 1, 2, 3, 4, 5, 6, 7, 8, 0x3D, 9, 9, 9, 9, 0x42, 2, 0x1A, 0x00,
    0x1A, 0, 0x22, 3, 'a', '.', 'b', 0x28, 1,
};

static void keys_and_fields_are_walked_in_order(void **state)
{
    static const char *const keys[] = { "color", "" }, *const fields[] = { "a.b", "a.b" };
    ensign_topic_t t;
    ensign_slice_t s = { NULL, 0 };
    size_t at = 0, n = 0;
    (void)state;
    memset(&t, 0, sizeof t);
    assert_false(ensign_topic_key_next(&t, &at, &s)); /* none */
    assert_false(ensign_topic_field_next(&t, &at, &s));
    t.keys = t.fields = ensi_slice(policy, sizeof policy);
    for (; ensign_topic_key_next(&t, &at, &s); n++) {
        assert_true(n < COUNT(keys) && same(s, keys[n]));
        assert_true(s.ptr >= policy && s.ptr + s.len <= policy + sizeof policy); /* in the record */
    }
    assert_int_equal(n, COUNT(keys));
    assert_false(ensign_topic_key_next(&t, &at, &s)); /* and stays there */
    for (at = 0, n = 0; ensign_topic_field_next(&t, &at, &s); n++)
        assert_true(n < COUNT(fields) && same(s, fields[n]));
    assert_int_equal(n, COUNT(fields));
}

/* Types "A" 1.2.3, none, "B" with its fields the other way round and an unknown one, largest numbers. */
static const uint8_t types[] = {
    0x6A, 9, 0x0A, 1, 'A', 0x10, 1, 0x18, 2, 0x20, 3,
    0x6A, 0,
    0x6A, 24, 0x20, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0x10, 0xFF, 0xFF, 0xFF,
    0xFF, 0x0F, 0x2A, 1, 'x', 0x0A, 1, 'B',
};

static void types_are_walked_in_order(void **state)
{
    ensign_topic_t t;
    ensign_type_t type;
    size_t at = 0;
    (void)state;
    memset(&t, 0, sizeof t);
    assert_false(ensign_topic_type_next(&t, &at, &type));
    t.types = ensi_slice(types, sizeof types);
    assert_true(ensign_topic_type_next(&t, &at, &type));
    assert_true(same(type.name, "A") && type.major == 1 && type.minor == 2 && type.patch == 3);
    assert_true(type.name.ptr == types + 4);
    assert_true(ensign_topic_type_next(&t, &at, &type));
    assert_true(same(type.name, "") && type.major == 0 && type.minor == 0 && type.patch == 0);
    assert_true(ensign_topic_type_next(&t, &at, &type));
    assert_true(same(type.name, "B") && type.major == UINT32_MAX);
    assert_true(type.minor == UINT32_MAX && type.patch == UINT32_MAX);
    assert_false(ensign_topic_type_next(&t, &at, &type));
    assert_false(ensign_topic_type_next(&t, &at, &type));
}

static size_t count_keys(ensign_slice_t list, size_t *at)
{
    ensign_topic_t t;
    ensign_slice_t s;
    size_t n = 0;
    memset(&t, 0, sizeof t);
    t.keys = list;
    while (ensign_topic_key_next(&t, at, &s)) n++;
    return n;
}

static size_t count_types(ensign_slice_t list, size_t *at)
{
    ensign_topic_t t;
    ensign_type_t type;
    size_t n = 0;
    memset(&t, 0, sizeof t);
    t.types = list;
    while (ensign_topic_type_next(&t, at, &type)) n++;
    return n;
}

/* What stands whole before the cut comes, and nothing past it is read: the copies are of just their size. */
static void lists_may_be_cut_anywhere(void **state)
{
    static const struct {
        const char *what;
        const uint8_t *bytes;
        size_t size, ends[4]; /* of the entries; SIZE_MAX: no more */
        size_t (*count)(ensign_slice_t list, size_t *at);
    } rows[] = {
        { "keys", policy, sizeof policy, { 9, 36, SIZE_MAX }, count_keys },
        { "types", types, sizeof types, { 11, 13, 39, SIZE_MAX }, count_types },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (size_t cut = 0; cut <= rows[i].size; cut++) {
            uint8_t *copy = (uint8_t *)block(rows[i].bytes, cut > 0 ? cut : 1);
            size_t at = 0, want = 0, is = rows[i].count(ensi_slice(copy, cut), &at);
            while (rows[i].ends[want] <= cut) want++;
            if (is != want || at > cut)
                fail_msg("%s cut at %zu: %zu instead of %zu, up to %zu", rows[i].what, cut, is, want, at);
            free(copy);
        }
    }
}

static void malformed_lists_end_the_walk(void **state)
{
    static const struct { size_t n; uint8_t b[13]; } rows[] = {
        /* longer than the rest; field 0; a group and its end; wire types 6 and 7 */
        { 3, { 0x1A, 5, 'k' } }, { 2, { 0x02, 0 } }, { 1, { 0x1B } }, { 1, { 0x1C } }, { 2, { 0x1E, 0 } },
        { 2, { 0x1F, 0 } },
        /* a length of 2^64 - 1; a varint of 11 bytes; a tag over 32 bits; fixed numbers that are cut */
        { 11, { 0x1A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01 } },
        { 12, { 0x20, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01 } },
        { 7, { 0xFA, 0xFF, 0xFF, 0xFF, 0x7F, 0x00, 0x00 } },
        { 5, { 0x31, 1, 2, 3, 4 } }, { 3, { 0x3D, 1, 2 } },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        static const uint8_t key[] = { 0x1A, 1, 'k' }, type[] = { 0x6A, 3, 0x0A, 1, 'T' };
        uint8_t bytes[2 * sizeof type + 13];
        size_t at = 0;
        memcpy(bytes, key, sizeof key);
        memcpy(bytes + sizeof key, rows[i].b, rows[i].n);
        assert_int_equal(count_keys(ensi_slice(bytes, sizeof key + rows[i].n), &at), 1);
        assert_int_equal(count_keys(ensi_slice(bytes, sizeof key + rows[i].n), &at), 0); /* for good */
        memcpy(bytes, type, sizeof type);
        memcpy(bytes + sizeof type, rows[i].b, rows[i].n);
        at = 0;
        assert_int_equal(count_types(ensi_slice(bytes, sizeof type + rows[i].n), &at), 1);
        at = SIZE_MAX; /* a wild start is the end */
        assert_int_equal(count_keys(ensi_slice(bytes, sizeof type + rows[i].n), &at), 0);
        assert_int_equal(count_types(ensi_slice(bytes, sizeof type + rows[i].n), &at), 0);
    }
}

/* The list goes on behind an entry that is no type, whose end is known. */
static void an_entry_that_is_no_type_is_left_out(void **state)
{
    static const uint8_t list[] = {
        0x6A, 3, 0x0A, 9, 'T',                          /* a name longer than its entry */
        0x6A, 2, 0x10, 0x80,                            /* a number that does not end */
        0x6A, 3, 0x0A, 1, 'T',
    };
    ensign_topic_t t;
    ensign_type_t type;
    size_t at = 0;
    (void)state;
    memset(&t, 0, sizeof t);
    t.types = ensi_slice(list, sizeof list);
    assert_true(ensign_topic_type_next(&t, &at, &type));
    assert_true(same(type.name, "T"));
    assert_false(ensign_topic_type_next(&t, &at, &type));
}

/* The same lists as they lie in a whole record of the server's. */
static void a_record_brings_its_lists(void **state)
{
    uint8_t record[18 + 2 + sizeof policy + sizeof types];
    size_t n = 0, at = 0, keys = 0, fields = 0, found = 0;
    ensign_topic_t t;
    ensign_slice_t s;
    ensign_type_t type;
    (void)state;
    memcpy(record, "\x0A\x10" "0123456789abcdef", 18);
    n = 18;
    memcpy(record + n, types, 11); /* types on both sides of the policy */
    n += 11;
    record[n++] = 0x5A; /* field 11 */
    record[n++] = sizeof policy;
    memcpy(record + n, policy, sizeof policy);
    n += sizeof policy;
    memcpy(record + n, types + 11, sizeof types - 11);
    n += sizeof types - 11;
    assert_true(n <= sizeof record);
    assert_true(ensi_req_topic(&t, ensi_slice(record, n)));
    while (ensign_topic_key_next(&t, &at, &s)) keys++;
    for (at = 0; ensign_topic_field_next(&t, &at, &s);) fields++;
    for (at = 0; ensign_topic_type_next(&t, &at, &type);) found++;
    assert_int_equal(keys, 2);
    assert_int_equal(fields, 2);
    assert_int_equal(found, 3);
    assert_int_equal(t.dedup_strategy, ENSIGN_DEDUP_KEY_GROUPED);
    assert_int_equal(t.dedup_offset, ENSIGN_DEDUP_OFFSET_EARLIEST);
    assert_true(t.overwrite_duplicate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_has_every_field_and_stands_alone),
        cmocka_unit_test(a_block_one_byte_short_is_not_touched),
        cmocka_unit_test(any_part_may_lack),
        cmocka_unit_test(an_empty_event_is_its_struct),
        cmocka_unit_test(a_copy_without_its_arguments_is_refused),
        cmocka_unit_test(large_data_is_copied_whole),
        cmocka_unit_test(keys_and_fields_are_walked_in_order),
        cmocka_unit_test(types_are_walked_in_order),
        cmocka_unit_test(lists_may_be_cut_anywhere),
        cmocka_unit_test(malformed_lists_end_the_walk),
        cmocka_unit_test(an_entry_that_is_no_type_is_left_out),
        cmocka_unit_test(a_record_brings_its_lists),
    };
    return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
