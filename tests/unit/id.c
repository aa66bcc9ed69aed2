/* id.c - section id: ULID, RLID, MIME types, schemas, metadata, dates, events as text, nack names */
#include "plain.h"

static char upper(char c)
{
    return (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
}

static void rlid_vectors_both_ways(void **state)
{
    static const struct { const char *hex, *text; uint64_t ms; uint32_t sequence; } rows[] = {
        { "0183425f666f006feb6b", "061m4qv6dw06ztvb", 1663265891951u, 7334763u },
        { "0812f55912a23bfe0198", "109fap8jm8xzw0cr", 8877518688930u, 1006502296u },
        { "42424242424242424242", "89144gj289144gj2", 72852346913346u, 1111638594u },
        { "0189ec33516000000001", "064yrcthc0000001", 1691884933472u, 1u },
        { "0189ec33516000000004", "064yrcthc0000004", 1691884933472u, 4u },
        { "0189ec3351600000000d", "064yrcthc000000d", 1691884933472u, 13u },
        { "0189fe2e48dc00000015", "064zwbj8vg00000n", 1692186593500u, 21u },
        { "018341414ea200000000", "061m2gaem8000000", 1663247142562u, 0u },
        { "0711f45811a13afd0097", "0w8z8p0hm4xft04q", 7773695250849u, 989659287u },
        { "1822f66922b24bff11f0", "30hfct92p95zy4fg", 26538442039986u, 1275007472u },
        { "00000000000000000000", "0000000000000000", 0u, 0u },
        { "ffffffffffffffffffff", "zzzzzzzzzzzzzzzz", 281474976710655u, 4294967295u },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensign_rlid_t want, got;
        char text[17], loud[17];
        uint64_t ms = 0;
        from_hex(rows[i].hex, want.b, 10);
        ensign_rlid_text(want, text);
        assert_string_equal(text, rows[i].text);
        assert_int_equal(ensign_rlid_parse(ensign_str(text), &got), ENSIGN_OK);
        assert_memory_equal(got.b, want.b, 10);
        for (size_t k = 0; k < 17; k++) loud[k] = upper(text[k]);
        memset(&got, 0xAA, sizeof got);
        assert_int_equal(ensign_rlid_parse(ensign_str(loud), &got), ENSIGN_OK);
        assert_memory_equal(got.b, want.b, 10);
        for (size_t k = 0; k < 6; k++) ms = ms << 8 | got.b[k];
        assert_true(ms == rows[i].ms);
        assert_true(((uint32_t)got.b[6] << 24 | (uint32_t)got.b[7] << 16 | (uint32_t)got.b[8] << 8 | got.b[9])
                    == rows[i].sequence);
    }
}

static void ulid_vectors_both_ways(void **state)
{
    static const struct { const char *hex, *text; } rows[] = {
        { "42424242424242424242424242424242", "2289144GJ289144GJ289144GJ2" },
        { "0186b34b8f6856556ab1eea8ce8d230d", "01GTSMQ3V8ASAPNCFEN378T8RD" },
        { "0186b34a302515d25c349aaf9af9423a", "01GTSMMC152Q95RD4TNYDFJGHT" },
        { "018834b33d34552974692dfabf0b9711", "01H0TB6F9MAMMQ8T9DZAZGQ5RH" },
        { "00000000000000000000000000000000", "00000000000000000000000000" },
        { "ffffffffffffffffffffffffffffffff", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensign_ulid_t want, got;
        char text[27];
        from_hex(rows[i].hex, want.b, 16);
        ensign_ulid_text(want, text);
        assert_string_equal(text, rows[i].text);
        for (size_t k = 0; k < 26; k++) text[k] = (char)(k % 2 && text[k] > '9' ? text[k] + 32 : text[k]);
        assert_int_equal(ensign_ulid_parse(ensign_str(text), &got), ENSIGN_OK);
        assert_memory_equal(got.b, want.b, 16);
    }
}

static void ids_that_do_not_parse_leave_the_output_alone(void **state)
{
    static const char *const rlids[] = {
        "", "foo", "061m4?v6!w0>ztvb", "061m4qv6dw06ztv", "061m4qv6dw06ztvbb", "061m4qv6dw06ztvi",
        "l61m4qv6dw06ztvb",
        "o61m4qv6dw06ztvb", "061m4qv6dw06ztvu", "061m4qv6dw06ztv ", "061m4qv6dw06zt\xC3\xBC",
    };
    static const char *const ulids[] = {
        "", "01GTSMQ3V8ASAPNCFEN378T8R", "01GTSMQ3V8ASAPNCFEN378T8RDD", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        "ZZZZZZZZZZZZZZZZZZZZZZZZZZ", "01GTSMQ3V8ASAPNCFEN378T8RI", "01GTSMQ3V8ASAPNCFEN378T8R-",
    };
    static const uint8_t zeros[26];
    ensign_rlid_t rlid, rlid_was;
    ensign_ulid_t ulid, ulid_was;
    (void)state;
    memset(&rlid, 0xAA, sizeof rlid);
    memset(&ulid, 0xAA, sizeof ulid);
    rlid_was = rlid;
    ulid_was = ulid;
    for (size_t i = 0; i < COUNT(rlids); i++)
        assert_int_equal(ensign_rlid_parse(ensign_str(rlids[i]), &rlid), ENSIGN_E_FORMAT);
    for (size_t i = 0; i < COUNT(ulids); i++)
        assert_int_equal(ensign_ulid_parse(ensign_str(ulids[i]), &ulid), ENSIGN_E_FORMAT);
    /* NULs are no digits */
    assert_int_equal(ensign_rlid_parse(ensi_slice(zeros, 16), &rlid), ENSIGN_E_FORMAT);
    assert_int_equal(ensign_ulid_parse(ensi_slice(zeros, 26), &ulid), ENSIGN_E_FORMAT);
    assert_int_equal(ensign_rlid_parse(ensign_str(rlids[0]), NULL), ENSIGN_E_ARGUMENT);
    assert_int_equal(ensign_ulid_parse(ensign_str(ulids[0]), NULL), ENSIGN_E_ARGUMENT);
    assert_memory_equal(&rlid, &rlid_was, sizeof rlid);
    assert_memory_equal(&ulid, &ulid_was, sizeof ulid);
}

static void ulid_is_made_of_time_and_chance(void **state)
{
    static const uint8_t chance[10] = { 0x56, 0x55, 0x6a, 0xb1, 0xee, 0xa8, 0xce, 0x8d, 0x23, 0x0d };
    char text[27];
    (void)state;
    ensign_ulid_text(ensi_id_ulid_make(0x0186b34b8f68u, chance), text);
    assert_string_equal(text, "01GTSMQ3V8ASAPNCFEN378T8RD");
    ensign_ulid_text(ensi_id_ulid_make(0xFFFF0186b34b8f68u, chance), text); /* 48 bits count */
    assert_string_equal(text, "01GTSMQ3V8ASAPNCFEN378T8RD");
}

static void mime_text_finds_its_number(void **state)
{
    static const struct { const char *text; int32_t mime; } rows[] = {
        { "application/json; charset=utf-8", 50 }, { "application/vnd.myapp.type+xml", 100 },
        { "text/json", 50 },
        { " \t Application/JSON\r\n", 50 }, { "TEXT/HTML", 3 }, { "text/html; charset=utf-8; level=1", 3 },
        { "text/html; a=b c=d", 3 },
        { "application/atom+xml", 101 }, { "application/ld+json", 51 }, { "application/ld+json; v=1.1", 51 },
        { "application/vnd.x-y_z.1+json;  a=b", 50 }, { "text/vnd.a+msgpack", 252 }, { "application/csv", 2 },
        { "application/plain", 1 }, { "application/x+csv", 2 }, { "text/xml", 100 },
        { "text/octet-stream", 0 },
        { "user/format-3; a=b", 1003 }, { "application/java-archive", 513 }, { "application/JSON+xml", 50 },
    };
    int32_t mime;
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        mime = -7;
        assert_int_equal(ensign_mime_parse(ensign_str(rows[i].text), &mime), ENSIGN_OK);
        assert_int_equal(mime, rows[i].mime);
    }
}

static void mime_text_that_is_unknown_gives_a_number_that_works(void **state)
{
    static const struct { const char *text; int32_t mime; } rows[] = {
        { "", 0 }, { "text", 0 }, { "text/", 1 }, { "text/markdown", 1 }, { "Text/x; bad", 1 },
        { "image/png", 0 },
        { "application/json;charset=utf-8", 0 }, { "application/json;", 0 }, { "application/json; ", 0 },
        { "application/json; a", 0 }, { "application/json; a=", 0 }, { "application/json+", 0 },
        { "json", 0 },
        { "user/format-10", 0 }, { "user/json", 0 }, { "application/", 0 }, { "/json", 0 },
        { "audio/json", 0 },
        { "application/json x", 0 }, { "unknown", 0 }, { "text/j\xC3\xBC", 1 },
    };
    int32_t mime;
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        mime = -7;
        assert_int_equal(ensign_mime_parse(ensign_str(rows[i].text), &mime), ENSIGN_E_FORMAT);
        assert_int_equal(mime, rows[i].mime);
    }
    assert_int_equal(ensign_mime_parse(ensign_str("text/csv"), NULL), ENSIGN_E_ARGUMENT);
}

static void mime_names_are_those_of_the_service_and_parse_back(void **state)
{
    static const struct { int32_t mime; const char *name; } rows[] = {
        { 0, "application/octet-stream" }, { 1, "text/plain" }, { 2, "text/csv" }, { 3, "text/html" },
        { 4, "text/calendar" },
        { 50, "application/json" }, { 51, "application/ld+json" }, { 52, "application/jsonlines" },
        { 53, "application/ubjson" }, { 54, "application/bson" }, { 100, "application/xml" },
        { 101, "application/atom+xml" },
        { 252, "application/msgpack" }, { 253, "application/parquet" }, { 254, "application/avro" },
        { 255, "application/protobuf" }, { 512, "application/pdf" }, { 513, "application/java-archive" },
        { 514, "application/python-pickle" }, { 1000, "user/format-0" }, { 1001, "user/format-1" },
        { 1002, "user/format-2" },
        { 1003, "user/format-3" }, { 1004, "user/format-4" }, { 1005, "user/format-5" },
        { 1006, "user/format-6" },
        { 1007, "user/format-7" }, { 1008, "user/format-8" }, { 1009, "user/format-9" },
    };
    int32_t back;
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_string_equal(ensign_mime_name(rows[i].mime), rows[i].name);
        assert_int_equal(ensign_mime_parse(ensign_str(rows[i].name), &back), ENSIGN_OK);
        assert_int_equal(back, rows[i].mime);
    }
    assert_string_equal(ensign_mime_name(5), "unknown");
    assert_string_equal(ensign_mime_name(-1), "unknown");
    assert_string_equal(ensign_mime_name(INT32_MAX), "unknown");
}

static void semver_gives_three_numbers(void **state)
{
    static const struct { const char *text; uint32_t v[3]; } rows[] = {
        { "1.2.3", { 1, 2, 3 } }, { "v1.2.3", { 1, 2, 3 } }, { "0.0.0", { 0, 0, 0 } },
        { "10.20.30", { 10, 20, 30 } },
        { "4294967295.4294967295.4294967295", { UINT32_MAX, UINT32_MAX, UINT32_MAX } },
        { "1.0.0-alpha", { 1, 0, 0 } }, { "1.0.0-alpha.1", { 1, 0, 0 } },
        { "1.0.0-0A.is.legal", { 1, 0, 0 } },
        { "1.0.0+build.001", { 1, 0, 0 } }, { "v2.1.0-rc.1+sha.5114f85", { 2, 1, 0 } },
        { "1.1.2--x", { 1, 1, 2 } },
        { "1.0.0-0", { 1, 0, 0 } }, { "1.2.3----RC-SNAPSHOT.12.9.1--.12+788", { 1, 2, 3 } },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensign_type_t type;
        const char *name = "Weather";
        assert_int_equal(ensign_type_parse(name, rows[i].text, &type), ENSIGN_OK);
        assert_ptr_equal(type.name.ptr, name);
        assert_int_equal(type.name.len, 7);
        assert_true(type.major == rows[i].v[0] && type.minor == rows[i].v[1] && type.patch == rows[i].v[2]);
    }
}

static void what_is_no_semver_changes_nothing(void **state)
{
    static const char *const rows[] = {
        "", "v", "1", "1.2", "1.2.", "1.2.3.4", "01.2.3", "1.02.3", "1.2.03", "1.2.3-", "1.2.3+", "1.2.3-01",
        "1.2.3-a..b",
        "1.2.3-a_b", "1.2.3+a+b", "1.2.3 ", " 1.2.3", "vv1.2.3", "V1.2.3", "-1.2.3", "4294967296.0.0",
        "0.0.99999999999999999999",
        "1.2.3-\xC3\xBC", "1..3", "a.b.c", "1.2.3-.", "1.2.3+.a",
    };
    ensign_type_t type, was;
    (void)state;
    memset(&type, 0x55, sizeof type);
    was = type;
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_int_equal(ensign_type_parse("T", rows[i], &type), ENSIGN_E_FORMAT);
    assert_int_equal(ensign_type_parse("", "1.2.3", &type), ENSIGN_E_FORMAT);
    assert_int_equal(ensign_type_parse(NULL, "1.2.3", &type), ENSIGN_E_ARGUMENT);
    assert_int_equal(ensign_type_parse("T", NULL, &type), ENSIGN_E_ARGUMENT);
    assert_int_equal(ensign_type_parse("T", "1.2.3", NULL), ENSIGN_E_ARGUMENT);
    assert_memory_equal(&type, &was, sizeof type);
}

/* Tag 3 entries with fields of all wire types between them, one entry without value, without key, empty, a
   key twice, an entry with its fields the other way round and an unknown one. */
static const uint8_t pairs[] = {
    0x1A, 6, 0x0A, 1, 'a', 0x12, 1, '1',
    0x20, 0xB2, 0x80, 0x01, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x3D, 9, 9, 9, 9, 0x2A, 2, 0x0A, 0x00,
    0x1A, 3, 0x0A, 1, 'b',
    0x1A, 3, 0x12, 1, '2',
    0x1A, 0,
    0x1A, 8, 0x12, 1, '3', 0x18, 7, 0x0A, 1, 'a',
    0x1A, 9, 0x0A, 1, 'c', 0x12, 1, '4', 0x12, 1, '5',
    0x18, 3, /* tag 3, but a number */
};

static void metadata_is_walked_in_order(void **state)
{
    static const char *const want[][2] = { { "a", "1" }, { "b", "" }, { "", "2" }, { "", "" }, { "a", "3" },
        { "c", "5" } };
    ensign_event_t e;
    ensign_slice_t key, value;
    size_t at = 0, n = 0;
    (void)state;
    memset(&e, 0, sizeof e);
    assert_false(ensign_metadata_next(&e, &at, &key, &value)); /* none */
    e.metadata = ensi_slice(pairs, sizeof pairs);
    for (; ensign_metadata_next(&e, &at, &key, &value); n++) {
        assert_true(n < COUNT(want));
        assert_true(ensi_slice_is(key, want[n][0]));
        assert_true(ensi_slice_is(value, want[n][1]));
        assert_non_null(key.ptr);
        assert_non_null(value.ptr);
    }
    assert_int_equal(n, COUNT(want));
    assert_false(ensign_metadata_next(&e, &at, &key, &value));
}

static void of_two_with_one_key_the_last_counts(void **state)
{
    ensign_event_t e;
    ensign_slice_t value = ensign_str("untouched");
    (void)state;
    memset(&e, 0, sizeof e);
    e.metadata = ensi_slice(pairs, sizeof pairs);
    assert_false(ensign_metadata_get(&e, "d", &value));
    assert_true(ensi_slice_is(value, "untouched"));
    assert_true(ensign_metadata_get(&e, "a", &value));
    assert_true(ensi_slice_is(value, "3"));
    assert_true(ensign_metadata_get(&e, "", &value));
    assert_true(ensi_slice_is(value, ""));
    assert_true(ensign_metadata_get(&e, "b", &value));
    assert_int_equal(value.len, 0);
}

/* Every cut of good bytes gives a prefix of the pairs and nothing past the end (the copies are exact). */
static void metadata_survives_any_cut(void **state)
{
    static const size_t ends[] = { 8, 35, 40, 42, 52, 63 }; /* of the entries */
    (void)state;
    for (size_t cut = 0; cut <= sizeof pairs; cut++) {
        uint8_t *copy = (uint8_t *)malloc(cut > 0 ? cut : 1);
        ensign_event_t e;
        ensign_slice_t key, value;
        size_t at = 0, n = 0, want = 0;
        assert_non_null(copy);
        memcpy(copy, pairs, cut);
        memset(&e, 0, sizeof e);
        e.metadata = ensi_slice(copy, cut);
        while (ensign_metadata_next(&e, &at, &key, &value)) n++;
        while (want < COUNT(ends) && ends[want] <= cut) want++;
        assert_int_equal(n, want);
        assert_int_equal(at, cut);
        free(copy);
    }
}

static void malformed_metadata_ends_the_walk(void **state)
{
    static const struct { size_t n; uint8_t b[14]; } rows[] = {
        /* an entry longer than the rest; field 0; a group; wire type 6 */
        { 3, { 0x1A, 5, 0x0A } }, { 2, { 0x02, 0 } }, { 1, { 0x1B } }, { 2, { 0x1E, 0 } },
        /* a length of 2^64 - 1; a varint of 11 bytes; a tag over 32 bits */
        { 11, { 0x1A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01 } },
        { 12, { 0x20, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01 } },
        { 7, { 0xFA, 0xFF, 0xFF, 0xFF, 0x7F, 0x00, 0x00 } },
        /* a key longer than its entry; a length that is cut off in its entry */
        { 5, { 0x1A, 3, 0x0A, 9, 'k' } }, { 4, { 0x1A, 2, 0x0A, 0x80 } },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        static const uint8_t good[] = { 0x1A, 6, 0x0A, 1, 'k', 0x12, 1, 'v' };
        uint8_t bytes[sizeof good + 14 + sizeof good];
        ensign_event_t e;
        ensign_slice_t key, value;
        size_t at = 0;
        memcpy(bytes, good, sizeof good);
        memcpy(bytes + sizeof good, rows[i].b, rows[i].n);
        memcpy(bytes + sizeof good + rows[i].n, good, sizeof good);
        memset(&e, 0, sizeof e);
        e.metadata = ensi_slice(bytes, sizeof good + rows[i].n);
        assert_true(ensign_metadata_next(&e, &at, &key, &value));
        assert_true(ensi_slice_is(key, "k") && ensi_slice_is(value, "v"));
        assert_false(ensign_metadata_next(&e, &at, &key, &value));
        assert_true(ensi_slice_is(key, "k") && ensi_slice_is(value, "v")); /* left alone */
        assert_false(ensign_metadata_next(&e, &at, &key, &value));
        at = SIZE_MAX; /* a wild start is the end */
        assert_false(ensign_metadata_next(&e, &at, &key, &value));
    }
}

static void dates_of_any_second(void **state)
{
    static const struct { int64_t s, year; int v[5]; } rows[] = {
        { 0, 1970, { 1, 1, 0, 0, 0 } }, { -1, 1969, { 12, 31, 23, 59, 59 } },
        { 1691429081, 2023, { 8, 7, 17, 24, 41 } },
        { 951782400, 2000, { 2, 29, 0, 0, 0 } }, { 951868800, 2000, { 3, 1, 0, 0, 0 } },
        { 4107542399, 2100, { 2, 28, 23, 59, 59 } },
        { 4107542400, 2100, { 3, 1, 0, 0, 0 } }, { -2203891200, 1900, { 3, 1, 0, 0, 0 } },
        { 253402300799, 9999, { 12, 31, 23, 59, 59 } },
        { 253402300800, 10000, { 1, 1, 0, 0, 0 } }, { -62135596800, 1, { 1, 1, 0, 0, 0 } },
        { -62135596801, 0, { 12, 31, 23, 59, 59 } },
        { -62167219200, 0, { 1, 1, 0, 0, 0 } }, { -62167219201, -1, { 12, 31, 23, 59, 59 } },
        { INT64_MAX, 292277026596, { 12, 4, 15, 30, 7 } }, { INT64_MIN, -292277022657, { 1, 27, 8, 29, 52 } },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensi_id_date_t d = ensi_id_civil(rows[i].s);
        assert_true(d.year == rows[i].year);
        assert_int_equal(d.month, rows[i].v[0]);
        assert_int_equal(d.day, rows[i].v[1]);
        assert_int_equal(d.hour, rows[i].v[2]);
        assert_int_equal(d.minute, rows[i].v[3]);
        assert_int_equal(d.second, rows[i].v[4]);
    }
}

/* Day by day against a calendar kept by hand, over two cycles of 400 years. */
static void dates_follow_the_calendar(void **state)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    int64_t year = 1600;
    int month = 1, day = 1;
    (void)state;
    for (int64_t s = -11676096000; year < 2401; s += 86400) {
        ensi_id_date_t d = ensi_id_civil(s + 86399);
        bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        if (d.year != year || d.month != month || d.day != day || d.hour != 23 || d.second != 59)
            fail_msg("second %lld is day %d-%d of %lld", (long long)s, d.month, d.day, (long long)d.year);
        if (++day <= days[month - 1] + (month == 2 && leap ? 1 : 0)) continue;
        day = 1;
        if (++month <= 12) continue;
        month = 1;
        year++;
    }
}

static void expect_text(const ensign_event_t *e, const char *want)
{
    char text[2048];
    int n = ensign_event_text(e, text, sizeof text);
    assert_string_equal(text, want);
    assert_int_equal(n, strlen(want));
}

static ensign_event_t weather(void)
{
    ensign_event_t e;
    memset(&e, 0, sizeof e);
    from_hex("0189ec33516000000004", e.id.b, 10);
    e.data = ensign_str("{\"temp\": \"72\", \"units\": \"fahrenheit\"}");
    e.mimetype = ENSIGN_MIME_APPLICATION_JSON;
    assert_int_equal(ensign_type_parse("WeatherUpdate", "1.0.0", &e.type), ENSIGN_OK);
    e.created.seconds = 1691429081;
    e.committed.seconds = 1691429082;
    e.committed.nanos = 930920123;
    return e;
}

static void an_event_prints_as_in_the_readme_of_pyensign(void **state)
{
    ensign_event_t e = weather();
    (void)state;
    expect_text(&e, "Event:\n\tid: 064yrcthc0000004\n"
                    "\tdata: b'{\"temp\": \"72\", \"units\": \"fahrenheit\"}'\n\tmimetype: application/json\n"
                    "\tschema: WeatherUpdate v1.0.0\n\tstate: EventState.SUBSCRIBED\n"
                    "\tcreated: 2023-08-07 17:24:41\n\tcommitted: 2023-08-07 17:24:42.930920");
}

static void what_an_event_lacks_is_left_out_or_none(void **state)
{
    ensign_event_t e;
    (void)state;
    memset(&e, 0, sizeof e);
    expect_text(&e, "Event:\n\tdata: b''\n\tmimetype: application/octet-stream\n"
                    "\tstate: EventState.SUBSCRIBED\n"
                    "\tcreated: None\n\tcommitted: None");
    e.created.seconds = -62135596800; /* go-ensign's "not set" */
    e.mimetype = 4711;
    e.metadata = ensi_slice(pairs, 8);
    e.committed.nanos = 1999; /* 1 us after the epoch is a time */
    expect_text(&e, "Event:\n\tdata: b''\n\tmimetype: unknown 4711\n\tmeta: {'a': '1'}\n"
                    "\tstate: EventState.SUBSCRIBED\n"
                    "\tcreated: None\n\tcommitted: 1970-01-01 00:00:00.000001");
    e.mimetype = INT32_MIN;
    e.metadata = ensi_slice(pairs, sizeof pairs);
    e.created.seconds = INT64_MIN;
    e.committed.seconds = -1;
    e.committed.nanos = -5; /* a peer's mistake */
    expect_text(&e, "Event:\n\tdata: b''\n\tmimetype: unknown -2147483648\n"
                    "\tmeta: {'a': '1', 'b': '', '': '2', '': '', 'a': '3', 'c': '5'}\n"
                    "\tstate: EventState.SUBSCRIBED\n"
                    "\tcreated: -292277022657-01-27 08:29:52\n\tcommitted: 1969-12-31 23:59:59");
}

static void expect_data(ensign_slice_t data, const char *want)
{
    ensign_event_t e;
    char text[512], line[512];
    char *end;
    memset(&e, 0, sizeof e);
    e.data = data;
    (void)ensign_event_text(&e, text, sizeof text);
    assert_memory_equal(text, "Event:\n\tdata: ", 14);
    end = strstr(text, "\n\tmimetype");
    assert_non_null(end);
    memcpy(line, text + 14, (size_t)(end - text) - 14);
    line[end - text - 14] = '\0';
    assert_string_equal(line, want);
}

static void data_is_escaped_as_a_bytes_literal(void **state)
{
    static const uint8_t odd[] = { 0, 7, 9, 10, 13, 27, 31, 32, 126, 127, 128, 255, '\\' };
    (void)state;
    expect_data(ensi_slice(odd, sizeof odd), "b'\\x00\\x07\\t\\n\\r\\x1b\\x1f ~\\x7f\\x80\\xff\\\\'");
    expect_data(ensign_str("it's"), "b\"it's\"");
    expect_data(ensign_str("a \"b\""), "b'a \"b\"'");
    expect_data(ensign_str("it's \"b\""), "b'it\\'s \"b\"'");
}

static void long_data_is_cut_at_100_characters(void **state)
{
    char data[120], want[128];
    (void)state;
    memset(data, 'x', sizeof data);
    memset(want, 'x', sizeof want);
    memcpy(want, "b'", 2);
    memcpy(want + 99, "'", 2); /* 97 bytes: a literal of exactly 100 */
    expect_data(ensi_slice(data, 97), want);
    memcpy(want + 99, "x...", 5); /* one more: 98 of them stand */
    expect_data(ensi_slice(data, 98), want);
    expect_data(ensi_slice(data, sizeof data), want);
    data[96] = '\n'; /* its escape is cut in two, as Python's slice does */
    memcpy(want + 98, "\\n...", 6);
    expect_data(ensi_slice(data, sizeof data), want);
    data[96] = '\0';
    memcpy(want + 98, "\\x...", 6);
    expect_data(ensi_slice(data, sizeof data), want);
}

static void no_name_steers_a_terminal(void **state)
{
    static const uint8_t meta[] = { 0x1A, 14, 0x0A, 5, 'k', '\'', '\x1b', 0xC2, 0x9B, 0x12, 5, '"', '\'',
        '\\', 0xC3, 0xBC };
    ensign_event_t e = weather();
    char text[512];
    (void)state;
    e.type.name = ensign_str("a\x1b[2J\n\xC2\x85\xC3\xBC\xC2\xA9'\\\x7f");
    e.metadata = ensi_slice(meta, sizeof meta);
    (void)ensign_event_text(&e, text, sizeof text);
    assert_non_null(strstr(text, "\n\tschema: a\\x1b[2J\\n\\x85\xC3\xBC\xC2\xA9'\\\\x7f v1.0.0\n"));
    assert_non_null(strstr(text, "\n\tmeta: {\"k'\\x1b\\x9b\": '\"\\'\\\\\xC3\xBC'}\n"));
}

static void text_is_cut_as_snprintf_cuts(void **state)
{
    ensign_event_t e = weather();
    char whole[512];
    int n = ensign_event_text(&e, whole, sizeof whole);
    (void)state;
    assert_int_equal(ensign_event_text(&e, NULL, 0), n);
    assert_int_equal(ensign_event_text(NULL, whole, sizeof whole), ENSIGN_E_ARGUMENT);
    for (size_t cap = 1; cap <= (size_t)n + 2; cap++) {
        char *exact = (char *)malloc(cap);
        size_t kept = cap - 1 < (size_t)n ? cap - 1 : (size_t)n;
        assert_non_null(exact);
        memset(exact, 'Z', cap);
        assert_int_equal(ensign_event_text(&e, exact, cap), n);
        assert_memory_equal(exact, whole, kept);
        assert_int_equal(exact[kept], '\0');
        if (cap > kept + 1) assert_int_equal(exact[kept + 1], 'Z');
        free(exact);
    }
}

static void nacks_have_names_and_words(void **state)
{
    static const struct { int code; const char *name; } rows[] = {
        { 0, "UNKNOWN" }, { 1, "MAX_EVENT_SIZE_EXCEEDED" }, { 2, "TOPIC_UNKNOWN" }, { 3, "TOPIC_ARCHIVED" },
        { 4, "TOPIC_DELETED" },
        { 5, "PERMISSION_DENIED" }, { 6, "CONSENSUS_FAILURE" }, { 7, "SHARDING_FAILURE" }, { 8, "REDIRECT" },
        { 9, "INTERNAL" },
        { 100, "UNPROCESSED" }, { 101, "TIMEOUT" }, { 102, "UNHANDLED_MIMETYPE" }, { 103, "UNKNOWN_TYPE" },
        { 104, "DELIVER_AGAIN_ANY" }, { 105, "DELIVER_AGAIN_NOT_ME" }, { 1000, "NOT_SENT" },
        { 1001, "OUTCOME_UNKNOWN" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_string_equal(ensign_nack_name(rows[i].code), rows[i].name);
        assert_true(strlen(ensi_id_nack_text(rows[i].code)) > 10);
        assert_true(strlen(ensi_id_nack_text(rows[i].code)) < 100);
    }
}

static void str_takes_null(void **state)
{
    const char *s = "abc";
    (void)state;
    assert_ptr_equal(ensign_str(s).ptr, s);
    assert_int_equal(ensign_str(s).len, 3);
    assert_int_equal(ensign_str(NULL).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rlid_vectors_both_ways),
        cmocka_unit_test(ulid_vectors_both_ways),
        cmocka_unit_test(ids_that_do_not_parse_leave_the_output_alone),
        cmocka_unit_test(ulid_is_made_of_time_and_chance),
        cmocka_unit_test(mime_text_finds_its_number),
        cmocka_unit_test(mime_text_that_is_unknown_gives_a_number_that_works),
        cmocka_unit_test(mime_names_are_those_of_the_service_and_parse_back),
        cmocka_unit_test(semver_gives_three_numbers),
        cmocka_unit_test(what_is_no_semver_changes_nothing),
        cmocka_unit_test(metadata_is_walked_in_order),
        cmocka_unit_test(of_two_with_one_key_the_last_counts),
        cmocka_unit_test(metadata_survives_any_cut),
        cmocka_unit_test(malformed_metadata_ends_the_walk),
        cmocka_unit_test(dates_of_any_second),
        cmocka_unit_test(dates_follow_the_calendar),
        cmocka_unit_test(an_event_prints_as_in_the_readme_of_pyensign),
        cmocka_unit_test(what_an_event_lacks_is_left_out_or_none),
        cmocka_unit_test(data_is_escaped_as_a_bytes_literal),
        cmocka_unit_test(long_data_is_cut_at_100_characters),
        cmocka_unit_test(no_name_steers_a_terminal),
        cmocka_unit_test(text_is_cut_as_snprintf_cuts),
        cmocka_unit_test(nacks_have_names_and_words),
        cmocka_unit_test(str_takes_null),
    };
    return cmocka_run_group_tests_name("id", tests, NULL, NULL);
}
