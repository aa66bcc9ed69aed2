/* place.c - places: the header, the first bytes of an event, and what a request names, against nanopb */
#include "bare.h"

static int setup(void **state)
{
    ensign_desc_t d = bare_desc();
    (void)state;
    return bare_setup(&d);
}

/* ---------------------------------------------------------------- the header */

static void a_header_has_two_numbers(void **state)
{
    static const struct { const char *text; bool good; uint64_t epoch, offset; } table[] = {
        { "7 12", true, 7, 12 },
        { "0 0", true, 0, 0 },
        { "18446744073709551615 18446744073709551615", true, UINT64_MAX, UINT64_MAX },
        { "007 00000000000000000000012", true, 7, 12 },
        { "", false, 0, 0 },
        { "7", false, 0, 0 },
        { "7 ", false, 0, 0 },
        { " 7 12", false, 0, 0 },
        { "7 12 ", false, 0, 0 },
        { "7  12", false, 0, 0 },
        { "7,12", false, 0, 0 },
        { "7 12 13", false, 0, 0 },
        { "-7 12", false, 0, 0 },
        { "7 +12", false, 0, 0 },
        { "7 1x", false, 0, 0 },
        { "0x7 12", false, 0, 0 },
        { "18446744073709551616 1", false, 0, 0 },
        { "1 18446744073709551616", false, 0, 0 },
        { "1 99999999999999999999999", false, 0, 0 },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        size_t len = strlen(table[i].text);
        char *exact = (char *)malloc(len + 1); /* a read behind it is found */
        ensi_offset_t place;
        assert_non_null(exact);
        memcpy(exact, table[i].text, len);
        if (ensi_place_parse(ensi_slice((uint8_t *)exact, len), &place) != table[i].good)
            fail_msg("\"%s\"", table[i].text);
        if (table[i].good) assert_true(place.epoch == table[i].epoch && place.offset == table[i].offset);
        free(exact);
    }
}

/* ---------------------------------------------------------------- an event */

static size_t event(uint8_t *out, size_t cap, uint64_t offset, uint64_t epoch)
{
    static uint8_t data[300];
    ensi_pb_subscribe_reply_t reply;
    ensi_pb_event_wrapper_t *w = &reply.event;
    size_t len = 0;
    memset(&reply, 0, sizeof reply);
    reply.has_event = true;
    w->id = ensi_slice((const uint8_t *)"0123456789", 10);
    w->topic_id = ensi_slice((const uint8_t *)"0123456789abcdef", 16);
    w->offset = offset;
    w->epoch = epoch;
    w->event = ensi_slice(data, sizeof data);
    assert_true(ensi_pb_encode(ensi_pb_subscribe_reply_fields, &reply, out, cap, &len));
    return len;
}

/* However many of its first bytes are here, what they tell is true; ENSI_RX_HEAD of them are enough. */
static void the_first_bytes_of_an_event_tell_its_place(void **state)
{
    static const uint64_t numbers[] = { 1, 127, 128, 1u << 20, UINT64_MAX / 2 };
    (void)state;
    for (size_t i = 0; i < COUNT(numbers) * COUNT(numbers); i++) {
        uint64_t offset = numbers[i % COUNT(numbers)], epoch = numbers[i / COUNT(numbers)];
        uint8_t whole[500];
        size_t len = event(whole, sizeof whole, offset, epoch);
        for (size_t here = 0; here <= len; here++) {
            uint8_t *exact = (uint8_t *)malloc(here + 1);
            ensign_ulid_t topic;
            ensi_offset_t place;
            bool known;
            assert_non_null(exact);
            memcpy(exact, whole, here);
            known = ensi_place_peek(exact, here, &topic, &place);
            if (known) {
                assert_true(place.offset == offset && place.epoch == epoch);
                assert_memory_equal(topic.b, "0123456789abcdef", 16);
            }
            if (here >= ENSI_RX_HEAD && !known) fail_msg("%zu bytes do not tell", here);
            free(exact);
        }
    }
}

static void an_event_without_an_offset_has_no_place(void **state)
{
    ensign_ulid_t topic;
    ensi_offset_t place;
    uint8_t whole[500];
    size_t len = event(whole, sizeof whole, 0, 5);
    (void)state;
    assert_false(ensi_place_peek(whole, len, &topic, &place));
    assert_false(ensi_place_read(whole, len, &topic, &place));
    len = event(whole, sizeof whole, 5, 0);
    assert_false(ensi_place_peek(whole, len, &topic, &place));
}

/* ---------------------------------------------------------------- what a request names */

enum { NAMES = 300 };

static char names[NAMES][40];

/* A map of topics, as a message has it, of those whose bit is drawn. */
static size_t some_map(uint8_t *out, uint32_t one_of)
{
    uint8_t *p = out;
    for (size_t i = 0; i < NAMES; i++) {
        ensign_slice_t name = ensign_str(names[i]);
        uint8_t id[16];
        if (below(one_of)) continue;
        memset(id, (int)i, sizeof id);
        id[0] = (uint8_t)(i >> 8);
        p = ensi_pb_put_head(p, ENSI_PB_STREAM_READY_TOPICS_TAG,
                             ensi_pb_bytes_size(1, name.len) + ensi_pb_bytes_size(2, sizeof id));
        p = ensi_pb_put_bytes(p, 1, name);
        p = ensi_pb_put_bytes(p, 2, ensi_slice(id, sizeof id));
    }
    return (size_t)(p - out);
}

static size_t index_of(ensign_slice_t name)
{
    size_t i = 0;
    while (!ensi_slice_is(name, names[i])) i++;
    return i;
}

/* The entries, as nanopb reads them, are those of `want`: UINT64_MAX where a topic is not named. */
static void check_named(const ensi_places_t *p, const ensi_topics_t *map, const uint64_t *want)
{
    static uint8_t out[NAMES * 80];
    uint64_t found[NAMES];
    size_t len = ensi_places_size(p, map, ensi_slice(NULL, 0)), at = 0;
    ensign_slice_t bytes;
    assert_true(len < sizeof out);
    memset(out, 0xEE, sizeof out);
    ensi_places_put(p, map, ensi_slice(NULL, 0), out);
    assert_int_equal(out[len], 0xEE);
    memset(found, 0xFF, sizeof found);
    while (ensi_pb_span_next(ensi_slice(out, len), ENSI_PB_CONSUMER_GROUP_TOPIC_OFFSETS_TAG, &at, &bytes)) {
        ensi_pb_consumer_group_topic_offsets_entry_t entry;
        assert_true(ensi_pb_decode(ensi_pb_consumer_group_topic_offsets_entry_fields, &entry, bytes.ptr,
                                   bytes.len));
        found[index_of(entry.key)] = entry.value;
    }
    assert_int_equal(at, len);
    for (size_t i = 0; i < NAMES; i++) assert_true(found[i] == want[i]);
}

/* Maps follow each other, events come, and each topic of a map is named with its place. */
static void places_follow_their_topics(void **state)
{
    static uint8_t bytes[NAMES * 100];
    ensi_mem_t *m = &client->env.mem;
    uint64_t want[NAMES], offset = 1000;
    ensi_topics_t map, before;
    ensi_places_t p;
    (void)state;
    memset(&p, 0, sizeof p);
    memset(&before, 0, sizeof before);
    memset(want, 0xFF, sizeof want);
    p.resume = true;
    for (size_t i = 0; i < NAMES; i++)
        snprintf(names[i], sizeof names[i], "topic-%zu-%u", i, below(1u << 20));
    for (int round = 0; round < 60; round++) {
        ensi_offset_t place = { 3, ++offset };
        size_t len = some_map(bytes, 1 + below(4)), at = 0;
        ensign_slice_t name;
        ensign_ulid_t id;
        uint64_t old[NAMES];
        bool fresh = false;
        int gap = 0, rc;
        memset(&map, 0, sizeof map);
        assert_true(ensi_topics_build(&map, m, ensi_slice(bytes, len)));
        memcpy(old, want, sizeof old);
        memset(want, 0xFF, sizeof want);
        while (ensi_topics_next(&map, &at, &name, &id)) {
            size_t i = index_of(name);
            fresh = fresh || old[i] == UINT64_MAX;
            want[i] = old[i] != UINT64_MAX ? old[i] : round ? p.began : place.offset;
        }
        p.asked = round > 0;
        rc = ensi_places_ready(&p, m, &map, &before, ensi_slice(NULL, 0), &place, &gap);
        if (rc == ENSIGN_AGAIN) { /* they are named now, and the same map comes again */
            assert_true(fresh && round > 0);
            check_named(&p, &map, want);
            rc = ensi_places_ready(&p, m, &map, &map, ensi_slice(NULL, 0), &place, &gap);
        }
        assert_int_equal(rc, ENSIGN_OK);
        assert_int_equal(gap, 0);
        for (uint32_t n = below(500); n > 0 && map.count > 0; n--) {
            const ensi_topic_entry_t *e = &map.entries[below((uint32_t)map.count)];
            place.offset = ++offset;
            memcpy(id.b, map.bytes + e->id_at, sizeof id.b);
            assert_true(ensi_places_note(&p, &map, &id, &place));
            assert_true(!p.asked || !ensi_places_note(&p, &map, &id, &place));
            want[index_of(ensi_topics_name(&map, ensi_slice(id.b, sizeof id.b)))] = offset;
        }
        assert_true(p.kept);
        check_named(&p, &map, want);
        ensi_topics_free(&before, m);
        before = map;
    }
    ensi_topics_free(&before, m);
    ensi_places_free(&p, m);
}

/* What could not be asked for, as its names were too many for a message, leaves its gap; of a group, too. */
static void what_was_not_asked_for_leaves_its_gap(void **state)
{
    (void)state;
    for (int group = 0; group < 2; group++) {
        ensi_mem_t *m = &client->env.mem;
        ensi_offset_t place = { 3, 9 };
        ensi_topics_t map, none;
        ensi_places_t p;
        int gap = 0;
        memset(&p, 0, sizeof p);
        memset(&map, 0, sizeof map);
        memset(&none, 0, sizeof none);
        p.resume = true;
        p.from = 5;
        p.group = group;
        p.owed = ENSIGN_E_UNIMPLEMENTED;
        assert_true(ensi_topics_build(&map, m, ensi_slice(NULL, 0)));
        assert_int_equal(ensi_places_ready(&p, m, &map, &none, ensi_slice(NULL, 0), &place, &gap), ENSIGN_OK);
        assert_int_equal(gap, ENSIGN_E_UNIMPLEMENTED);
        p.owed = ENSIGN_E_CLOSED;
        assert_int_equal(ensi_places_ready(&p, m, &map, &map, ensi_slice(NULL, 0), &place, &gap), ENSIGN_OK);
        assert_int_equal(gap, group ? 0 : ENSIGN_E_CLOSED);
        ensi_places_free(&p, m);
        ensi_topics_free(&map, m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BARE_TEST(a_header_has_two_numbers),
        BARE_TEST(the_first_bytes_of_an_event_tell_its_place),
        BARE_TEST(an_event_without_an_offset_has_no_place),
        BARE_TEST(places_follow_their_topics),
        BARE_TEST(what_was_not_asked_for_leaves_its_gap),
    };
    return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}
