/* vectors.c - tables that the service, its SDKs and their tests agree on: identifiers, hashes of names, MIME
 * types, versions, names of numbers, types and events as text */
#include "plain.h"

/* Bytes in memory of just their size: a read past the end is seen. */
static ensign_slice_t exact(const void *bytes, size_t len)
{
    uint8_t *p = (uint8_t *)malloc(len > 0 ? len : 1);
    assert_non_null(p);
    if (len > 0) memcpy(p, bytes, len);
    return ensi_slice(p, len);
}

static void done(ensign_slice_t s)
{
    free((void *)(uintptr_t)s.ptr);
}

/* ---- identifiers */

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/* The value of a digit in any case; -1: it is none. No I, L, O, U, and nothing stands in for them. */
static int digit_of(int c)
{
    for (int i = 0; i < 32; i++)
        if (c == alphabet[i] || (c >= 'a' && c - 'a' + 'A' == alphabet[i])) return i;
    return -1;
}

static void each_place_of_an_id_takes_the_alphabet_alone(void **state)
{
    char ulid[] = "01GTSMQ3V8ASAPNCFEN378T8RD", rlid[] = "061m4qv6dw06ztvb";
    ensign_ulid_t u;
    ensign_rlid_t r;
    (void)state;
    for (size_t at = 0; at < 26; at++) {
        char was = ulid[at];
        for (int c = 0; c < 256; c++) {
            bool good = digit_of(c) >= 0 && (at > 0 || digit_of(c) <= 7); /* 128 bits: the first has three */
            ulid[at] = (char)c;
            assert_int_equal(ensign_ulid_parse(ensi_slice(ulid, 26), &u), good ? ENSIGN_OK : ENSIGN_E_FORMAT);
        }
        ulid[at] = was;
    }
    for (size_t at = 0; at < 16; at++) {
        char was = rlid[at];
        for (int c = 0; c < 256; c++) {
            rlid[at] = (char)c;
            assert_int_equal(ensign_rlid_parse(ensi_slice(rlid, 16), &r),
                             digit_of(c) >= 0 ? ENSIGN_OK : ENSIGN_E_FORMAT);
        }
        rlid[at] = was;
    }
}

static void ids_have_one_length(void **state)
{
    static const char zeros[] = "00000000000000000000000000000000";
    ensign_ulid_t u;
    ensign_rlid_t r;
    (void)state;
    for (size_t n = 0; n < sizeof zeros; n++) {
        ensign_slice_t text = exact(zeros, n);
        assert_int_equal(ensign_ulid_parse(text, &u), n == 26 ? ENSIGN_OK : ENSIGN_E_FORMAT);
        assert_int_equal(ensign_rlid_parse(text, &r), n == 16 ? ENSIGN_OK : ENSIGN_E_FORMAT);
        done(text);
    }
    assert_int_equal(ensign_ulid_parse(ensign_str(NULL), &u), ENSIGN_E_FORMAT);
    assert_int_equal(ensign_rlid_parse(ensign_str(NULL), &r), ENSIGN_E_FORMAT);
}

/* A bit of an id, alone, is the bit of the digit that stands there: 5 to a digit, the last digit ends it. */
static void each_bit_of_an_id_has_its_digit(void **state)
{
    char text[27];
    (void)state;
    for (size_t bit = 0; bit < 128; bit++) {
        ensign_ulid_t u = { { 0 } }, back;
        u.b[15 - bit / 8] = (uint8_t)(1u << bit % 8);
        ensign_ulid_text(u, text);
        for (size_t at = 0; at < 26; at++)
            assert_int_equal(digit_of(text[at]), at == 25 - bit / 5 ? 1 << bit % 5 : 0);
        assert_int_equal(ensign_ulid_parse(ensign_str(text), &back), ENSIGN_OK);
        assert_memory_equal(back.b, u.b, 16);
    }
    for (size_t bit = 0; bit < 80; bit++) {
        ensign_rlid_t r = { { 0 } }, back;
        r.b[9 - bit / 8] = (uint8_t)(1u << bit % 8);
        ensign_rlid_text(r, text);
        for (size_t at = 0; at < 16; at++)
            assert_int_equal(digit_of(text[at]), at == 15 - bit / 5 ? 1 << bit % 5 : 0);
        assert_int_equal(ensign_rlid_parse(ensign_str(text), &back), ENSIGN_OK);
        assert_memory_equal(back.b, r.b, 10);
    }
}

static void ids_sort_as_their_texts(void **state)
{
    static const char *const rlids[] = { "00000000000000000000", "0183425f666f006feb6b",
                                         "0189ec33516000000001", "0189ec33516000000004",
                                         "0189ec3351600000000d", "0189fe2e48dc00000015",
                                         "0711f45811a13afd0097", "0812f55912a23bfe0198",
                                         "1822f66922b24bff11f0", "ffffffffffffffffffff" };
    char before[17] = "", text[17];
    (void)state;
    for (size_t i = 0; i < COUNT(rlids); i++) {
        ensign_rlid_t r;
        from_hex(rlids[i], r.b, 10);
        ensign_rlid_text(r, text);
        assert_true(strcmp(before, text) < 0);
        memcpy(before, text, sizeof text);
    }
}

/* ---- hashes of names, as TopicNames gives them */

enum { HASH_TEXT = 22 }; /* unpadded base64url of 16 bytes */

static void hash_is(ensign_slice_t name, const char *want)
{
    uint8_t hash[ENSI_ID_HASH];
    char text[HASH_TEXT + 1];
    size_t len;
    ensi_id_hash(name, hash);
    assert_int_equal(ensi_base64_encode(hash, sizeof hash, false, text, HASH_TEXT, &len), ENSIGN_OK);
    assert_int_equal(len, HASH_TEXT);
    for (size_t i = 0; i < len; i++) text[i] = (char)(text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i]);
    text[len] = '\0';
    assert_string_equal(text, want);
}

static void names_hash_as_at_the_service(void **state)
{
    static const struct { const char *name, *hash; } rows[] = {
        { "", "AAAAAAAAAAAAAAAAAAAAAA" },
        { "mock1", "lVEWQE8IkIM1MokVF0V1mw" },
        { "testing.testapp.shipments", "aGdsSRMLeh-urMLeQu2XRQ" },
        { "topic", "CLyzMp4kZo2SNwQyLef68g" },
        { "HutHutHIKE42", "maZuxMJYoenrMLv25vdnLw" },
        { "dot.separated.topic", "uAnkaCqWTQRAZO6dqUWfDA" },
        { "dash-separated-topic", "zdd0mByNCSoAQI0B3izFpw" },
        { "under_scored", "Xo7FgW6dLOWIzb1XMKJqlQ" },
        { "weather", "sUH23DHfXIIB9gKPv8zw-Q" },
        { "\xC3\xBC\xFF\x80", "OTpp0x208cBaO5WQLngAkA" }, /* bytes have no sign */
    };
    char longest[512];
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) hash_is(ensign_str(rows[i].name), rows[i].hash);
    hash_is(ensign_str(NULL), rows[0].hash);
    memset(longest, 'y', sizeof longest);
    longest[0] = 'x';
    hash_is(ensi_slice(longest, sizeof longest), "-WRpAA5WLeTLcRs48jDPLw");
}

/* Blocks are of 16 bytes, and each rest from 1 to 15 is mixed in in its own way. */
static void names_of_every_length_hash(void **state)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456";
    static const char *const rows[] = {
        "AAAAAAAAAAAAAAAAAAAAAA", "hVVVZfZZeInmtTpIUQ6JWg", "k4sR6hbtGy7mXqcBm1LUrQ",
        "tJY_Pz-teGc7onRBJsotUg", "uHu31kZWzU_yAD6IYHPodQ", "IDbQkfSWu7jFx-6gS8_sjA",
        "5H2Gv6yjv1WwcQmZMyGEXA", "ps0vn8Ce5JkcOqI6sVW7tg", "zIoKsDfvjAJIiQ1g62lAoQ",
        "BUfAz_E8eWR5tT31t0HgMw", "tsFbDXcvjJmiTYXcjGUayQ", "qJXQuN94nQK7fDHiRVrncQ",
        "jvObseZ64ZQfnjAycv9iHA", "FkgojafA-nMuZXv_DefMfw", "kdCUp_XDdeDuCWAn0mozJA",
        "ir4kUYkML_tqVIwtnJYqYQ", "xMo8oyJMtyNDM9aVszHrGg", "dWR0f4i9plfs2kmdoREN5A",
        "d_CM7JB_ilBx1KgpWgDHaw", "FZC8I96ebYimik0qtm-UdA", "MQs3Jvk34vGWCfQqVxbQSw",
        "ydVo4nn_yTzXzEjB6Zs8-w", "lYjjMPSr-FZG2x90qPSpbQ", "QEgKup1PI46DvrfrHFTp_w",
        "ZJSWD9TeLPd5D8-jUyHyCA", "cefLpC8Hlg_t7hWBOZ692w", "dJydflFvSqnprZyJtqfVKQ",
        "fi3chBDd4EVFPM9qsQyTNg", "jAZOBsi7f2ELQQkLQV6pqA", "Me_P8V5SlH77_YTJXpTjEA",
        "QWgZAOybM0G_IobvFTIYyQ", "S_BiKGNWWKi-29JgkPnveg", "FqEntTniCuPtywciof6_aA",
        "7qXxi4DJYIgjvRvEMZxvOg",
    };
    (void)state;
    for (size_t n = 0; n < COUNT(rows); n++) {
        ensign_slice_t name = exact(letters, n);
        hash_is(name, rows[n]);
        done(name);
    }
}

/* ---- MIME types */

static const struct { int32_t mime; const char *name; } mimes[] = {
    { ENSIGN_MIME_APPLICATION_OCTET_STREAM, "application/octet-stream" },
    { ENSIGN_MIME_TEXT_PLAIN, "text/plain" },
    { ENSIGN_MIME_TEXT_CSV, "text/csv" },
    { ENSIGN_MIME_TEXT_HTML, "text/html" },
    { ENSIGN_MIME_TEXT_CALENDAR, "text/calendar" },
    { ENSIGN_MIME_APPLICATION_JSON, "application/json" },
    { ENSIGN_MIME_APPLICATION_JSON_LD, "application/ld+json" },
    { ENSIGN_MIME_APPLICATION_JSON_LINES, "application/jsonlines" },
    { ENSIGN_MIME_APPLICATION_UBJSON, "application/ubjson" },
    { ENSIGN_MIME_APPLICATION_BSON, "application/bson" },
    { ENSIGN_MIME_APPLICATION_XML, "application/xml" },
    { ENSIGN_MIME_APPLICATION_ATOM, "application/atom+xml" },
    { ENSIGN_MIME_APPLICATION_MSGPACK, "application/msgpack" },
    { ENSIGN_MIME_APPLICATION_PARQUET, "application/parquet" },
    { ENSIGN_MIME_APPLICATION_AVRO, "application/avro" },
    { ENSIGN_MIME_APPLICATION_PROTOBUF, "application/protobuf" },
    { ENSIGN_MIME_APPLICATION_PDF, "application/pdf" },
    { ENSIGN_MIME_APPLICATION_JAVA_ARCHIVE, "application/java-archive" },
    { ENSIGN_MIME_APPLICATION_PYTHON_PICKLE, "application/python-pickle" },
    { ENSIGN_MIME_USER_SPECIFIED0, "user/format-0" }, { ENSIGN_MIME_USER_SPECIFIED1, "user/format-1" },
    { ENSIGN_MIME_USER_SPECIFIED2, "user/format-2" }, { ENSIGN_MIME_USER_SPECIFIED3, "user/format-3" },
    { ENSIGN_MIME_USER_SPECIFIED4, "user/format-4" }, { ENSIGN_MIME_USER_SPECIFIED5, "user/format-5" },
    { ENSIGN_MIME_USER_SPECIFIED6, "user/format-6" }, { ENSIGN_MIME_USER_SPECIFIED7, "user/format-7" },
    { ENSIGN_MIME_USER_SPECIFIED8, "user/format-8" }, { ENSIGN_MIME_USER_SPECIFIED9, "user/format-9" },
};

static void mime_is(const char *text, int rc, int32_t want)
{
    ensign_slice_t s = exact(text, strlen(text));
    int32_t mime = -7;
    int got = ensign_mime_parse(s, &mime);
    if (got != rc || mime != want)
        fail_msg("\"%s\" gives %d and %d, not %d and %d", text, got, (int)mime, rc, (int)want);
    done(s);
}

/* The number that is wanted for the type behind a name's '/', written with another prefix. */
static void swapped(size_t i)
{
    const char *rest = strchr(mimes[i].name, '/');
    bool text = strncmp(mimes[i].name, "text", 4) == 0;
    char other[64];
    if (strncmp(mimes[i].name, "user", 4) == 0) return; /* nothing stands in for it */
    (void)snprintf(other, sizeof other, "%s%s", text ? "application" : "text", rest);
    mime_is(other, ENSIGN_OK, mimes[i].mime);
    if (strchr(rest, '+')) return; /* has a suffix already */
    (void)snprintf(other, sizeof other, "%.*s/vnd.me.v-1_x+%s", (int)(rest - mimes[i].name), mimes[i].name,
                   rest + 1);
    mime_is(other, ENSIGN_OK, mimes[i].mime);
    (void)snprintf(other, sizeof other, "%s/X+%s;  a=b", text ? "application" : "text", rest + 1);
    mime_is(other, ENSIGN_OK, mimes[i].mime);
}

static void each_mime_type_in_all_its_spellings(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(mimes); i++) {
        char text[80];
        assert_string_equal(ensign_mime_name(mimes[i].mime), mimes[i].name);
        mime_is(mimes[i].name, ENSIGN_OK, mimes[i].mime);
        (void)snprintf(text, sizeof text, " \t%s\r\n ", mimes[i].name);
        mime_is(text, ENSIGN_OK, mimes[i].mime);
        for (char *p = text; *p; p++) *p = (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
        mime_is(text, ENSIGN_OK, mimes[i].mime);
        (void)snprintf(text, sizeof text, "%s; charset=utf-8", mimes[i].name);
        mime_is(text, ENSIGN_OK, mimes[i].mime);
        swapped(i);
    }
    assert_int_equal(ENSIGN_MIME_APPLICATION_JSON_UTF8, ENSIGN_MIME_APPLICATION_JSON);
    assert_int_equal(ENSIGN_MIME_UNKNOWN, ENSIGN_MIME_UNSPECIFIED);
    assert_int_equal(ENSIGN_MIME_APPLICATION_OCTET_STREAM, ENSIGN_MIME_UNSPECIFIED);
}

static void numbers_without_a_mime_type_are_unknown(void **state)
{
    size_t known = 0;
    (void)state;
    for (int32_t mime = -2; mime < 1100; mime++) known += strcmp(ensign_mime_name(mime), "unknown") != 0;
    assert_int_equal(known, COUNT(mimes));
}

/* What PyEnsign 0.12.1b0 and the Go SDK give for the same texts. */
static void mime_types_match_as_in_the_sdks(void **state)
{
    static const struct { const char *text; int32_t mime; } rows[] = {
        { "application/html", 3 }, { "application/calendar", 4 }, { "text/java-archive", 513 },
        { "text/octet-stream", 0 }, { "text/ld+json", 51 }, { "text/atom+xml", 101 },
        /* the type is tried before the suffix, the prefix that is there before the other */
        { "application/ld+xml", 100 }, { "application/atom+json", 50 }, { "application/plain+xml", 100 },
        { "text/plain+json", 1 }, { "application/jsonlines+json", 52 },
        { "application/octet-stream+json", 0 },
        { "application/x+octet-stream", 0 }, { "application/x+jsonlines", 52 }, { "text/x+avro", 254 },
        { "application/vnd.ms-excel+xml; v=1.0", 100 }, { "application/a.b-c_d+msgpack", 252 },
        { "user/x+format-3", 1003 }, { "user/format-3+json", 1003 },
        { "application/json;  charset=utf-8", 50 }, { "application/json;\tcharset=utf-8", 50 },
        { "application/json; a=b c=d", 50 }, { "application/json\n", 50 },
    };
    static const char *const bad[] = {
        "application/x-unknown", "application", "/", "application/", "application/json+",
        "application/+json", "application/a+b+json", "application/json/x", "application/ js",
        "user/json", "user/x+xml", "user/html", "user/x+csv", /* as in Go: nothing stands in for user */
        "application/format-0", "application/json;charset=utf-8", "application/json ; a=b",
        "application/json; a=\"b\"", "application/json; =b", "image/png", "multipart/json",
    };
    static const char *const bad_text[] = {
        "text/x+ld", "text/format-0", "text/html;", "text/html; ", "text/html; a", "text/html; a=",
        "text/html; =b", "text/x-unknown", "text/unknown+unknown",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) mime_is(rows[i].text, ENSIGN_OK, rows[i].mime);
    for (size_t i = 0; i < COUNT(bad); i++)
        mime_is(bad[i], ENSIGN_E_FORMAT, ENSIGN_MIME_APPLICATION_OCTET_STREAM);
    for (size_t i = 0; i < COUNT(bad_text); i++)
        mime_is(bad_text[i], ENSIGN_E_FORMAT, ENSIGN_MIME_TEXT_PLAIN);
}

/* ---- versions, and types as text */

static void type_is(const ensign_type_t *t, const char *want)
{
    char text[128];
    assert_int_equal(ensign_type_text(t, text, sizeof text), strlen(want));
    assert_string_equal(text, want);
}

static void versions_are_read_as_in_pyensign(void **state)
{
    static const struct { const char *version, *text; } rows[] = {
        { "1.2.3", "T v1.2.3" }, { "v1.2.3", "T v1.2.3" }, { "0.0.0", "T v0.0.0" },
        { "1.2.3-rc.1", "T v1.2.3" }, { "v1.2.3-rc.1+b.7", "T v1.2.3" }, { "1.2.3+b", "T v1.2.3" },
        { "1.2.3-0", "T v1.2.3" }, { "1.2.3-0a", "T v1.2.3" }, { "1.2.3-a.0", "T v1.2.3" },
        { "1.2.3--", "T v1.2.3" }, { "1.2.3+01", "T v1.2.3" }, { "1.2.3+01.02", "T v1.2.3" },
        { "0.0.0-0.0.0", "T v0.0.0" }, { "1.0.0-alpha+beta-x.0", "T v1.0.0" },
        { "4294967295.0.0", "T v4294967295.0.0" }, { "0.4294967295.0", "T v0.4294967295.0" },
        { "0.0.4294967295", "T v0.0.4294967295" },
    };
    static const char *const bad[] = {
        "", "v", "V1.2.3", "1", "1.2", "1.2.3.4", "01.2.3", "1.02.3", "1.2.03", "00.0.0", "1.2.3-01",
        "1.2.3-a.01", "1.2.3-+b", "1.2.3-", "1.2.3+", "1.2.3+a+b", "1.2.3-alpha_beta", " v1.2.3", "v 1.2.3",
        "1.2.3 ", "-1.2.3", "+1.2.3", "1.-2.3", "1,2,3", "0x1.2.3", "1.2.3e1", "\xD9\xA1.2.3",
        "4294967296.0.0", "0.4294967296.0", "0.0.4294967296", "18446744073709551617.0.0",
        "0.0.340282366920938463463374607431768211456",
    };
    ensign_type_t t;
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        memset(&t, 0x55, sizeof t);
        if (ensign_type_parse("T", rows[i].version, &t) != ENSIGN_OK) fail_msg("\"%s\"", rows[i].version);
        type_is(&t, rows[i].text);
    }
    for (size_t i = 0; i < COUNT(bad); i++)
        if (ensign_type_parse("T", bad[i], &t) != ENSIGN_E_FORMAT) fail_msg("taken: \"%s\"", bad[i]);
    type_is(&t, rows[COUNT(rows) - 1].text); /* as it was */
}

static void a_type_is_its_name_and_version(void **state)
{
    ensign_type_t t = { { NULL, 0 }, 1, 2, 0 };
    (void)state;
    type_is(&t, ""); /* no name: no type, whatever the numbers are */
    t.name = ensign_str("Shipment");
    type_is(&t, "Shipment v1.2.0");
    t.name = exact("Shipment", 4); /* no NUL is needed */
    type_is(&t, "Ship v1.2.0");
    done(t.name);
    t.name = ensign_str("\xC3\xBC" "ber type");
    t.major = t.minor = t.patch = UINT32_MAX;
    type_is(&t, "\xC3\xBC" "ber type v4294967295.4294967295.4294967295");
    t.name = ensign_str("a\x1b[2J\n");
    t.major = t.minor = t.patch = 0;
    type_is(&t, "a\\x1b[2J\\n v0.0.0"); /* safe for a terminal */
}

static void a_type_is_cut_as_snprintf_cuts(void **state)
{
    const ensign_type_t t = { { (const uint8_t *)"Shipment", 8 }, 1, 2, 0 };
    static const char whole[] = "Shipment v1.2.0";
    const size_t n = sizeof whole - 1;
    (void)state;
    assert_int_equal(ensign_type_text(&t, NULL, 0), n);
    assert_int_equal(ensign_type_text(NULL, NULL, 0), ENSIGN_E_ARGUMENT);
    for (size_t cap = 1; cap <= n + 2; cap++) {
        char *out = (char *)malloc(cap);
        size_t kept = cap - 1 < n ? cap - 1 : n;
        assert_non_null(out);
        assert_int_equal(ensign_type_text(&t, out, cap), n);
        assert_memory_equal(out, whole, kept);
        assert_int_equal(out[kept], '\0');
        free(out);
    }
}

/* ---- names of numbers */

static const struct { int names, number; const char *name, *other; } numbers[] = {
    { ENSIGN_NAMES_TOPIC, ENSIGN_TOPIC_UNDEFINED, "UNDEFINED", NULL },
    { ENSIGN_NAMES_TOPIC, ENSIGN_TOPIC_READY, "READY", NULL },
    { ENSIGN_NAMES_TOPIC, ENSIGN_TOPIC_READONLY, "READONLY", NULL },
    { ENSIGN_NAMES_TOPIC, ENSIGN_TOPIC_DELETING, "DELETING", NULL },
    { ENSIGN_NAMES_TOPIC, ENSIGN_TOPIC_PENDING, "PENDING", NULL },
    { ENSIGN_NAMES_TOPIC, ENSIGN_TOPIC_ALLOCATING, "ALLOCATING", NULL },
    { ENSIGN_NAMES_TOPIC, ENSIGN_TOPIC_REPAIRING, "REPAIRING", NULL },
    { ENSIGN_NAMES_SERVICE, ENSIGN_SERVICE_UNKNOWN, "UNKNOWN", NULL },
    { ENSIGN_NAMES_SERVICE, ENSIGN_SERVICE_HEALTHY, "HEALTHY", NULL },
    { ENSIGN_NAMES_SERVICE, ENSIGN_SERVICE_UNHEALTHY, "UNHEALTHY", NULL },
    { ENSIGN_NAMES_SERVICE, ENSIGN_SERVICE_DANGER, "DANGER", NULL },
    { ENSIGN_NAMES_SERVICE, ENSIGN_SERVICE_OFFLINE, "OFFLINE", NULL },
    { ENSIGN_NAMES_SERVICE, ENSIGN_SERVICE_MAINTENANCE, "MAINTENANCE", NULL },
    { ENSIGN_NAMES_DEDUP, ENSIGN_DEDUP_UNKNOWN, "UNKNOWN", NULL },
    { ENSIGN_NAMES_DEDUP, ENSIGN_DEDUP_NONE, "NONE", NULL },
    { ENSIGN_NAMES_DEDUP, ENSIGN_DEDUP_STRICT, "STRICT", NULL },
    { ENSIGN_NAMES_DEDUP, ENSIGN_DEDUP_DATAGRAM, "DATAGRAM", NULL },
    { ENSIGN_NAMES_DEDUP, ENSIGN_DEDUP_KEY_GROUPED, "KEY_GROUPED", NULL },
    { ENSIGN_NAMES_DEDUP, ENSIGN_DEDUP_UNIQUE_KEY, "UNIQUE_KEY", NULL },
    { ENSIGN_NAMES_DEDUP, ENSIGN_DEDUP_UNIQUE_FIELD, "UNIQUE_FIELD", NULL },
    { ENSIGN_NAMES_DEDUP_OFFSET, ENSIGN_DEDUP_OFFSET_UNKNOWN, "UNKNOWN", "OFFSET_UNKNOWN" },
    { ENSIGN_NAMES_DEDUP_OFFSET, ENSIGN_DEDUP_OFFSET_EARLIEST, "EARLIEST", "OFFSET_EARLIEST" },
    { ENSIGN_NAMES_DEDUP_OFFSET, ENSIGN_DEDUP_OFFSET_LATEST, "LATEST", "OFFSET_LATEST" },
    { ENSIGN_NAMES_SHARDING, ENSIGN_SHARDING_UNKNOWN, "UNKNOWN", NULL },
    { ENSIGN_NAMES_SHARDING, ENSIGN_SHARDING_NONE, "NO_SHARDING", "NONE" },
    { ENSIGN_NAMES_SHARDING, ENSIGN_SHARDING_CONSISTENT_KEY_HASH, "CONSISTENT_KEY_HASH", NULL },
    { ENSIGN_NAMES_SHARDING, ENSIGN_SHARDING_RANDOM, "RANDOM", NULL },
    { ENSIGN_NAMES_SHARDING, ENSIGN_SHARDING_PUBLISHER_ORDERING, "PUBLISHER_ORDERING", NULL },
    { ENSIGN_NAMES_HEALTH, ENSIGN_HEALTH_UNKNOWN, "UNKNOWN", NULL },
    { ENSIGN_NAMES_HEALTH, ENSIGN_HEALTH_SERVING, "SERVING", NULL },
    { ENSIGN_NAMES_HEALTH, ENSIGN_HEALTH_NOT_SERVING, "NOT_SERVING", NULL },
    { ENSIGN_NAMES_HEALTH, ENSIGN_HEALTH_SERVICE_UNKNOWN, "SERVICE_UNKNOWN", NULL },
};

static void parses_to(int names, const char *text, int want)
{
    ensign_slice_t s = exact(text, strlen(text));
    int number = -7, rc = ensign_enum_parse(names, s, &number);
    if (rc != ENSIGN_OK || number != want) fail_msg("\"%s\" of %d gives %d, %d", text, names, rc, number);
    done(s);
}

/* In lower case, in mixed case, with '-' and with ' ' for '_', and with all of that in one. */
static void parses_in_any_spelling(int names, const char *name, int want)
{
    static const char marks[] = "_- ";
    char text[64];
    size_t n = strlen(name);
    for (unsigned how = 0; how < 12; how++) {
        for (size_t i = 0; i <= n; i++) {
            bool low = how % 3 == 1 || (how % 3 == 2 && i % 2);
            char c = name[i];
            if (c == '_') c = how < 9 ? marks[how / 3] : marks[i % 3];
            text[i] = (char)(low && c >= 'A' && c <= 'Z' ? c + 32 : c);
        }
        parses_to(names, text, want);
    }
}

static void numbers_have_names_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(numbers); i++) {
        assert_string_equal(ensign_enum_name(numbers[i].names, numbers[i].number), numbers[i].name);
        parses_in_any_spelling(numbers[i].names, numbers[i].name, numbers[i].number);
        if (numbers[i].other) parses_in_any_spelling(numbers[i].names, numbers[i].other, numbers[i].number);
    }
}

static void other_numbers_are_unknown(void **state)
{
    size_t seen = 0;
    (void)state;
    for (int names = -2; names < ENSIGN_NAMES + 2; names++) {
        for (int number = -2; number < 20; number++) {
            bool listed = false;
            for (size_t i = 0; i < COUNT(numbers); i++)
                listed |= numbers[i].names == names && numbers[i].number == number;
            seen += listed;
            if (!listed) assert_string_equal(ensign_enum_name(names, number), "UNKNOWN");
        }
        assert_string_equal(ensign_enum_name(names, INT32_MIN), "UNKNOWN");
        assert_string_equal(ensign_enum_name(names, INT32_MAX), "UNKNOWN");
    }
    assert_int_equal(seen, COUNT(numbers));
}

static void other_names_are_refused(void **state)
{
    static const struct { int names; const char *text; } rows[] = {
        { ENSIGN_NAMES_TOPIC, "" }, { ENSIGN_NAMES_TOPIC, "READ" }, { ENSIGN_NAMES_TOPIC, "READYY" },
        { ENSIGN_NAMES_TOPIC, "READ_ONLY" }, { ENSIGN_NAMES_TOPIC, "1" }, { ENSIGN_NAMES_TOPIC, "STRICT" },
        { ENSIGN_NAMES_TOPIC, "ENSIGN_TOPIC_READY" }, { ENSIGN_NAMES_TOPIC, "TOPIC_READY" },
        { ENSIGN_NAMES_TOPIC, "R\xC3\x89" "ADY" }, { ENSIGN_NAMES_SERVICE, "SERVING" },
        { ENSIGN_NAMES_DEDUP, "KEYGROUPED" }, { ENSIGN_NAMES_DEDUP, "KEY__GROUPED" },
        { ENSIGN_NAMES_DEDUP, "KEY.GROUPED" }, { ENSIGN_NAMES_DEDUP, "KEY\tGROUPED" },
        { ENSIGN_NAMES_DEDUP, "EARLIEST" }, { ENSIGN_NAMES_DEDUP_OFFSET, "OFFSET" },
        { ENSIGN_NAMES_DEDUP_OFFSET, "OFFSET_" }, { ENSIGN_NAMES_DEDUP_OFFSET, "NONE" },
        { ENSIGN_NAMES_SHARDING, "SHARDING" }, { ENSIGN_NAMES_HEALTH, "HEALTHY" },
        { -1, "READY" }, { ENSIGN_NAMES, "READY" }, { INT32_MAX, "UNKNOWN" }, { INT32_MIN, "UNKNOWN" },
    };
    int number = -7;
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        if (ensign_enum_parse(rows[i].names, ensign_str(rows[i].text), &number) != ENSIGN_E_FORMAT)
            fail_msg("taken: \"%s\" of %d", rows[i].text, rows[i].names);
    assert_int_equal(ensign_enum_parse(ENSIGN_NAMES_TOPIC, ensi_slice("READY\0", 6), &number),
                     ENSIGN_E_FORMAT);
    assert_int_equal(ensign_enum_parse(ENSIGN_NAMES_TOPIC, ensign_str(NULL), &number), ENSIGN_E_FORMAT);
    assert_int_equal(number, -7);
    assert_int_equal(ensign_enum_parse(ENSIGN_NAMES_TOPIC, ensign_str("READY"), NULL), ENSIGN_E_ARGUMENT);
}

/* ---- events as text: what PyEnsign 0.12.1b0 prints for the same event, in UTC */

typedef struct printed_t {
    const char *id, *data;
    size_t size;
    int32_t mimetype;
    ensign_type_t type;
    const char *key, *value;        /* one pair; key NULL: none */
    ensign_time_t created, committed;
    const char *text;
} printed_t;

#define BYTES(s) s, sizeof(s) - 1
#define TYPE(s, a, b, c) { { (const uint8_t *)(s), sizeof(s) - 1 }, a, b, c }
#define X10 "xxxxxxxxxx"
#define X90 X10 X10 X10 X10 X10 X10 X10 X10 X10
#define Q10 "''''''''''"
#define Q90 Q10 Q10 Q10 Q10 Q10 Q10 Q10 Q10 Q10
#define STATE "\n\tstate: EventState.SUBSCRIBED"

static const printed_t printed[] = {
    { "0189ec33516000000001", BYTES("hello"), 1, TYPE("Greeting", 0, 1, 0), NULL, NULL, { 1691884933, 0 },
      { 1691884933, 472000000 },
      "Event:\n\tid: 064yrcthc0000001\n\tdata: b'hello'\n\tmimetype: text/plain\n\tschema: Greeting v0.1.0"
      STATE "\n\tcreated: 2023-08-13 00:02:13\n\tcommitted: 2023-08-13 00:02:13.472000" },
    { "0812f55912a23bfe0198", BYTES("\x00\x01\xfe'"), 0, TYPE("Raw", 4294967295u, 0, 7), "a", "1",
      { 1, 999999000 }, { 4102444800, 5000 },
      "Event:\n\tid: 109fap8jm8xzw0cr\n\tdata: b\"\\x00\\x01\\xfe'\"\n\tmimetype: application/octet-stream"
      "\n\tschema: Raw v4294967295.0.7\n\tmeta: {'a': '1'}"
      STATE "\n\tcreated: 1970-01-01 00:00:01.999999\n\tcommitted: 2100-01-01 00:00:00.000005" },
    { "42424242424242424242", BYTES(X90 "xxxxxxx"), 255, TYPE("Unknown", 0, 0, 0), "it's", "\"q\"",
      { 951782400, 0 }, { 951868799, 500000000 },
      "Event:\n\tid: 89144gj289144gj2\n\tdata: b'" X90 "xxxxxxx'\n\tmimetype: application/protobuf"
      "\n\tschema: Unknown v0.0.0\n\tmeta: {\"it's\": '\"q\"'}"
      STATE "\n\tcreated: 2000-02-29 00:00:00\n\tcommitted: 2000-02-29 23:59:59.500000" },
    { "0189ec3351600000000d", BYTES(X90 "xxxxxxxx"), 1009, TYPE("\xC3\xBC" "ber", 1, 2, 3), "k",
      "\xC3\xBC\xE2\x82\xAC", { 1700000000, 100000 }, { 1700000001, 0 },
      "Event:\n\tid: 064yrcthc000000d\n\tdata: b'" X90 "xxxxxxxx...\n\tmimetype: user/format-9"
      "\n\tschema: \xC3\xBC" "ber v1.2.3\n\tmeta: {'k': '\xC3\xBC\xE2\x82\xAC'}"
      STATE "\n\tcreated: 2023-11-14 22:13:20.000100\n\tcommitted: 2023-11-14 22:13:21" },
    { "0189fe2e48dc00000015", BYTES("tab\there\nand\\"), 514, TYPE("T", 1, 0, 0), "t", "a\tb\\c'",
      { 1700000000, 123456000 }, { 1700000000, 1000 },
      "Event:\n\tid: 064zwbj8vg00000n\n\tdata: b'tab\\there\\nand\\\\'"
      "\n\tmimetype: application/python-pickle\n\tschema: T v1.0.0\n\tmeta: {'t': \"a\\tb\\\\c'\"}"
      STATE "\n\tcreated: 2023-11-14 22:13:20.123456\n\tcommitted: 2023-11-14 22:13:20.000001" },
    { "0189fe2e48dc00000015", BYTES(Q90 "'''''''''"), 2, TYPE("T", 1, 0, 0), "both", "'\"",
      { 1700000000, 0 }, { 1700000000, 0 },
      "Event:\n\tid: 064zwbj8vg00000n\n\tdata: b\"" Q90 "''''''''...\n\tmimetype: text/csv"
      "\n\tschema: T v1.0.0\n\tmeta: {'both': '\\'\"'}"
      STATE "\n\tcreated: 2023-11-14 22:13:20\n\tcommitted: 2023-11-14 22:13:20" },
};

/* A pair as an entry of Event.metadata: field 3, of fields 1 and 2. */
static size_t entry(uint8_t *out, const char *key, const char *value)
{
    size_t k = strlen(key), v = strlen(value);
    out[0] = 0x1A;
    out[1] = (uint8_t)(4 + k + v);
    out[2] = 0x0A;
    out[3] = (uint8_t)k;
    memcpy(out + 4, key, k);
    out[4 + k] = 0x12;
    out[5 + k] = (uint8_t)v;
    memcpy(out + 6 + k, value, v);
    return 6 + k + v;
}

static void events_print_as_in_pyensign(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(printed); i++) {
        const printed_t *p = &printed[i];
        uint8_t pair[64];
        char text[1024];
        ensign_event_t e;
        memset(&e, 0, sizeof e);
        from_hex(p->id, e.id.b, 10);
        e.data = ensi_slice(p->data, p->size);
        e.mimetype = p->mimetype;
        e.type = p->type;
        e.created = p->created;
        e.committed = p->committed;
        if (p->key) e.metadata = ensi_slice(pair, entry(pair, p->key, p->value));
        assert_int_equal(ensign_event_text(&e, text, sizeof text), strlen(p->text));
        assert_string_equal(text, p->text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_place_of_an_id_takes_the_alphabet_alone),
        cmocka_unit_test(ids_have_one_length),
        cmocka_unit_test(each_bit_of_an_id_has_its_digit),
        cmocka_unit_test(ids_sort_as_their_texts),
        cmocka_unit_test(names_hash_as_at_the_service),
        cmocka_unit_test(names_of_every_length_hash),
        cmocka_unit_test(each_mime_type_in_all_its_spellings),
        cmocka_unit_test(numbers_without_a_mime_type_are_unknown),
        cmocka_unit_test(mime_types_match_as_in_the_sdks),
        cmocka_unit_test(versions_are_read_as_in_pyensign),
        cmocka_unit_test(a_type_is_its_name_and_version),
        cmocka_unit_test(a_type_is_cut_as_snprintf_cuts),
        cmocka_unit_test(numbers_have_names_both_ways),
        cmocka_unit_test(other_numbers_are_unknown),
        cmocka_unit_test(other_names_are_refused),
        cmocka_unit_test(events_print_as_in_pyensign),
    };
    return cmocka_run_group_tests_name("vectors", tests, NULL, NULL);
}
