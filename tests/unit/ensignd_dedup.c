/* ensignd_dedup.c - the development server's rules for duplicates; hashes and shrunk records are those that
 * the service's own code makes of the same events */
#include "../../tools/ensignd/util.c"
#include "../../tools/ensignd/ids.c"
#include "../../tools/ensignd/dedup.c"
#include "../../tools/ensignd/restore.c"
#include "../../tools/ensignd/lib.c"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

typedef struct pair_t { const char *key, *value; } pair_t;
typedef struct sample_t {
    const char *id, *data;
    pair_t pairs[3];
    int32_t mimetype;
    const char *type;           /* NULL: none; else in version 1.2.3 but for "Unspecified" and "" */
    int64_t created;
} sample_t;

static const rlid_t first_id = { { '0', '1', '2', '3', '4', '5', '6', '7', '8', '9' } };

static const sample_t greeting = { "0123456789", "hello", { { "b", "2" }, { "a", "1" } }, 50, "Greeting", 0 };
static const sample_t plain = { "0123456789", "hello", { { NULL, NULL } }, 0, NULL, 0 };

static buf_t event_of(const sample_t *s)
{
    msg_event_t e;
    buf_t out = { NULL, 0, 0, 0 }, metadata = { NULL, 0, 0, 0 };

    memset(&e, 0, sizeof e);
    e.data = slice_text(s->data);
    e.mimetype = s->mimetype;
    e.has_type = s->type != NULL;
    if (s->type) e.type.name = slice_text(s->type);
    if (s->type && strcmp(s->type, MSG_UNTYPED) != 0 && *s->type) {
        e.type.major_version = 1;
        e.type.minor_version = 2;
        e.type.patch_version = 3;
    }
    e.has_created = s->created != 0;
    e.created.seconds = s->created;
    for (size_t i = 0; i < 3 && s->pairs[i].key; i++) {
        msg_event_metadata_entry_t m;
        buf_t entry = { NULL, 0, 0, 0 };
        m.key = slice_text(s->pairs[i].key);
        m.value = slice_text(s->pairs[i].value);
        assert_true(msg_put(&entry, MSG_EVENT_METADATA_ENTRY, &m));
        msg_put_field(&metadata, MSG_EVENT_METADATA_TAG, buf_bytes(&entry));
        buf_free(&entry);
    }
    e.metadata.ptr = metadata.ptr;
    e.metadata.len = buf_len(&metadata);
    assert_true(msg_put(&out, MSG_EVENT, &e));
    buf_free(&metadata);
    return out;
}

static buf_t wrap(const sample_t *s)
{
    msg_event_wrapper_t w;
    buf_t out = { NULL, 0, 0, 0 }, event = event_of(s);

    memset(&w, 0, sizeof w);
    w.id = slice_text(s->id);
    w.topic_id = slice_text("tttttttttttttttt");
    w.event.ptr = event.ptr;
    w.event.len = buf_len(&event);
    assert_true(msg_put(&out, MSG_EVENT_WRAPPER, &w));
    buf_free(&event);
    return out;
}

/* Keys: up to three, in a Topic as it is stored. */
static dedup_policy_t policy(dedup_strategy_t strategy, bool overwrite, const char *const keys[3])
{
    msg_topic_t t;
    buf_t topic = { NULL, 0, 0, 0 }, list = { NULL, 0, 0, 0 };
    dedup_policy_t p;

    memset(&t, 0, sizeof t);
    t.has_deduplication = true;
    t.deduplication.strategy = (int32_t)strategy;
    t.deduplication.overwrite_duplicate = overwrite;
    for (size_t i = 0; keys && i < 3 && keys[i]; i++)
        msg_put_field(&list, MSG_DEDUPLICATION_KEYS_TAG, slice_text(keys[i]));
    t.deduplication.keys.ptr = list.ptr;
    t.deduplication.keys.len = buf_len(&list);
    assert_true(msg_put(&topic, MSG_TOPIC, &t));
    assert_true(dedup_policy_read(buf_bytes(&topic), &p));
    buf_free(&topic);
    buf_free(&list);
    return p;
}

static void assert_hex(ensign_slice_t b, const char *hex)
{
    char got[1024];
    assert_true(2 * b.len < sizeof got);
    got[0] = '\0';
    for (size_t i = 0; i < b.len; i++) snprintf(got + 2 * i, 3, "%02x", b.ptr[i]);
    assert_string_equal(got, hex);
}

static void hashes_are_those_of_the_service(void **state)
{
    static const struct {
        const sample_t *event;
        dedup_strategy_t strategy;
        const char *keys[3], *hash;
    } rows[] = {
        { &greeting, DEDUP_STRICT, { NULL }, "a65bdf140aea2ccf13e9d9849d63b99b" },
        { &greeting, DEDUP_DATAGRAM, { NULL }, "cbd8a7b341bd9b025b1e906a48ae1d19" },
        { &greeting, DEDUP_KEY_GROUPED, { "a", "b", "none" }, "515371a107e68d7ac76b17d394e94716" },
        { &greeting, DEDUP_UNIQUE_KEY, { "a", "b" }, "ba301900ad8ae61a2759df360bce0127" },
        { &plain, DEDUP_STRICT, { NULL }, "b75d95d169649c7ea3200c18b8cf3df0" },
        { &plain, DEDUP_UNIQUE_KEY, { "a", "b" }, "938b11ea16ed1b2ee65ea7019b52d4ad" },
    };
    (void)state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        dedup_policy_t p = policy(rows[i].strategy, false, rows[i].keys);
        buf_t w = wrap(rows[i].event);
        name_hash_t hash;
        assert_true(dedup_hash(&p, buf_bytes(&w), &hash));
        assert_hex(slice_of(hash.b, sizeof hash.b), rows[i].hash);
        buf_free(&w);
        dedup_policy_free(&p);
    }
}

/* Which strategies call each of these a duplicate of the greeting; of the keys a and z. */
static void each_strategy_compares_its_own_fields(void **state)
{
    enum { S = 1, D = 2, G = 4, U = 8 };
    static const struct { sample_t event; unsigned same; } rows[] = {
        { { "x", "hello", { { "a", "1" }, { "b", "2" } }, 50, "Greeting", 77 }, S | D | G | U },
        { { "x", "hallo", { { "a", "1" }, { "b", "2" } }, 50, "Greeting", 0 }, U },
        { { "x", "hello", { { "a", "1" }, { "b", "3" } }, 50, "Greeting", 0 }, D | G | U },
        { { "x", "hello", { { "a", "1" } }, 50, "Greeting", 0 }, D | G | U },
        { { "x", "hello", { { "a", "2" }, { "b", "2" } }, 50, "Greeting", 0 }, D },
        { { "x", "hello", { { "a", "1" }, { "b", "2" } }, 51, "Greeting", 0 }, D | G | U },
        { { "x", "hello", { { "a", "1" }, { "b", "2" } }, 50, "greeting", 0 }, D | G | U },
        { { "x", "hello", { { "a", "1" }, { "b", "2" }, { "z", "" } }, 50, "Greeting", 0 }, D | G | U },
        { { "x", "hello", { { "a", "9" }, { "b", "2" }, { "a", "1" } }, 50, "Greeting", 0 }, S | D | G | U },
        { { "x", "hell", { { "o", "" }, { "a", "1" }, { "b", "2" } }, 50, "Greeting", 0 }, U },
    };
    static const char *const keys[3] = { "a", "z" };
    static const dedup_strategy_t strategies[] = { DEDUP_STRICT, DEDUP_DATAGRAM, DEDUP_KEY_GROUPED,
                                                   DEDUP_UNIQUE_KEY, DEDUP_NONE, DEDUP_UNIQUE_FIELD };
    buf_t original = wrap(&greeting);
    (void)state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        buf_t w = wrap(&rows[i].event);
        for (size_t k = 0; k < sizeof strategies / sizeof strategies[0]; k++) {
            dedup_policy_t p = policy(strategies[k], false, keys);
            bool wanted = k < 4 && (rows[i].same >> k & 1);
            if (dedup_same(&p, buf_bytes(&w), buf_bytes(&original)) != wanted)
                fail_msg("row %zu, strategy %d", i, (int)strategies[k]);
            dedup_policy_free(&p);
        }
        buf_free(&w);
    }
    buf_free(&original);
}

static void untyped_is_one_type(void **state)
{
    static const char *const types[] = { NULL, "", MSG_UNTYPED };
    dedup_policy_t p = policy(DEDUP_STRICT, false, NULL);
    (void)state;

    for (size_t i = 0; i < 3; i++) {
        sample_t s = plain;
        buf_t a = wrap(&plain), b;
        name_hash_t x, y;
        s.type = types[i];
        b = wrap(&s);
        assert_true(dedup_same(&p, buf_bytes(&a), buf_bytes(&b)));
        assert_true(dedup_hash(&p, buf_bytes(&a), &x) && dedup_hash(&p, buf_bytes(&b), &y));
        assert_memory_equal(&x, &y, sizeof x);
        buf_free(&a);
        buf_free(&b);
    }
    dedup_policy_free(&p);
}

static const sample_t original = { "0123456789", "hello", { { "a", "1" }, { "c", "3" } }, 50, "T", 0 };
static const sample_t repeated = { "abcdefghij", "hello", { { "a", "1" }, { "b", "2" } }, 50, "T", 0 };

static void duplicates_shrink_as_in_the_service(void **state)
{
    static const char gone[] = "0a0a6162636465666768696a" "1210" "74747474747474747474747474747474"
                               "6001" "6a0a30313233343536373839";
    static const char rest[] = "0a0a6162636465666768696a" "1210" "74747474747474747474747474747474"
                               "4a081a060a0162120132" "6001" "6a0a30313233343536373839";
    static const char *const keys[3] = { "a" };
    buf_t w = wrap(&repeated), o = wrap(&original);
    (void)state;

    for (dedup_strategy_t s = DEDUP_STRICT; s <= DEDUP_UNIQUE_KEY; s++) {
        for (int overwrite = 0; overwrite < 2; overwrite++) {
            dedup_policy_t p = policy(s, overwrite, keys);
            buf_t out = { NULL, 0, 0, 0 };
            rlid_t id;
            assert_true(dedup_shrink(&p, buf_bytes(&w), buf_bytes(&o), &first_id, &out));
            assert_hex(buf_bytes(&out), s == DEDUP_STRICT || overwrite ? gone : rest);
            assert_true(dedup_original(buf_bytes(&out), &id));
            assert_memory_equal(id.b, "0123456789", 10);
            buf_free(&out);
            dedup_policy_free(&p);
        }
    }
    buf_free(&w);
    buf_free(&o);
}

/* Shrunk, restored, unmarked: the event that it was, but for metadata that only the original had. */
static void what_was_shrunk_comes_back(void **state)
{
    static const char *const keys[3] = { "a" };
    sample_t wanted = repeated;
    buf_t o = wrap(&original), want;
    (void)state;

    wanted.pairs[2].key = "c";
    wanted.pairs[2].value = "3";
    want = wrap(&wanted);
    for (dedup_strategy_t s = DEDUP_DATAGRAM; s <= DEDUP_UNIQUE_KEY; s++) {
        dedup_policy_t p = policy(s, false, keys), strict = policy(DEDUP_STRICT, false, NULL);
        buf_t w = wrap(&repeated), small = { NULL, 0, 0, 0 }, whole = small, clean = small;
        rlid_t id;
        assert_true(dedup_shrink(&p, buf_bytes(&w), buf_bytes(&o), &first_id, &small));
        assert_true(restore_duplicate(buf_bytes(&small), buf_bytes(&o), &whole));
        assert_true(dedup_unmark(buf_bytes(&whole), &clean));
        assert_false(dedup_original(buf_bytes(&clean), &id));
        assert_true(dedup_same(&strict, buf_bytes(&clean), buf_bytes(&want)));
        buf_free(&w);
        buf_free(&small);
        buf_free(&whole);
        buf_free(&clean);
        dedup_policy_free(&p);
        dedup_policy_free(&strict);
    }
    buf_free(&o);
    buf_free(&want);
}

/* UNIQUE_KEY alone may find other data: that is kept. */
static void unique_key_keeps_data_of_its_own(void **state)
{
    static const char *const keys[3] = { "a" };
    dedup_policy_t p = policy(DEDUP_UNIQUE_KEY, false, keys);
    sample_t other = repeated;
    buf_t w, o = wrap(&original), out = { NULL, 0, 0, 0 };
    opened_t seen;
    (void)state;

    other.data = "another";
    other.created = 7;
    w = wrap(&other);
    assert_true(dedup_shrink(&p, buf_bytes(&w), buf_bytes(&o), &first_id, &out));
    assert_true(open_event(&seen, buf_bytes(&out)));
    assert_true(slice_is(seen.event.data, "another"));
    assert_int_equal(seen.event.created.seconds, 7);
    assert_int_equal(seen.event.mimetype, 0);
    assert_false(seen.event.has_type);
    close_event(&seen);
    buf_free(&w);
    buf_free(&o);
    buf_free(&out);
    dedup_policy_free(&p);
}

static void what_is_no_event_is_refused(void **state)
{
    static const uint8_t empty_event[] = { 0x0a, 1, 'x' }, broken[] = { 0x4a, 2, 0x12, 0x7f };
    dedup_policy_t p = policy(DEDUP_DATAGRAM, false, NULL);
    ensign_slice_t rows[2] = { slice_of(empty_event, sizeof empty_event), slice_of(broken, sizeof broken) };
    buf_t good = wrap(&plain), out = { NULL, 0, 0, 0 };
    name_hash_t hash;
    rlid_t id;
    (void)state;

    for (size_t i = 0; i < 2; i++) {
        assert_false(dedup_hash(&p, rows[i], &hash));
        assert_false(dedup_same(&p, rows[i], buf_bytes(&good)));
        assert_false(dedup_same(&p, buf_bytes(&good), rows[i]));
        assert_false(dedup_shrink(&p, rows[i], buf_bytes(&good), &first_id, &out));
        assert_false(dedup_shrink(&p, buf_bytes(&good), rows[i], &first_id, &out));
        assert_false(dedup_original(rows[i], &id));
        assert_int_equal(buf_len(&out), 0);
    }
    buf_free(&good);
    dedup_policy_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_those_of_the_service),
        cmocka_unit_test(each_strategy_compares_its_own_fields),
        cmocka_unit_test(untyped_is_one_type),
        cmocka_unit_test(duplicates_shrink_as_in_the_service),
        cmocka_unit_test(what_was_shrunk_comes_back),
        cmocka_unit_test(unique_key_keeps_data_of_its_own),
        cmocka_unit_test(what_is_no_event_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
