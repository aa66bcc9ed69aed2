/* json.c - section json: base64, JSON members, escapes, the payload of a JWT */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <stdio.h>
#include <cmocka.h>
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* The document in memory of just its size, so that a read past its end is seen. */
static int get_string(const char *doc, size_t n, const char *key, char *out, size_t cap, size_t *len)
{
    char *copy = (char *)malloc(n > 0 ? n : 1);
    int rc;
    assert_non_null(copy);
    memcpy(copy, doc, n);
    rc = ensi_json_string(ensi_slice(copy, n), key, out, cap, len);
    free(copy);
    return rc;
}

static int get_int(const char *doc, const char *key, int64_t *out)
{
    return ensi_json_int(ensign_str(doc), key, out);
}

/* ---- base64 */

static const struct { const char *bytes, *padded, *bare; } base64_rows[] = {
    { "", "", "" }, { "f", "Zg==", "Zg" }, { "fo", "Zm8=", "Zm8" }, { "foo", "Zm9v", "Zm9v" },
    { "foob", "Zm9vYg==", "Zm9vYg" },
    { "fooba", "Zm9vYmE=", "Zm9vYmE" }, { "foobar", "Zm9vYmFy", "Zm9vYmFy" },
    { "\xFB\xEF\xFF", "++//", "++//" },
};

static void base64_goes_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(base64_rows); i++) {
        size_t n = strlen(base64_rows[i].bytes), len = 99, pn = strlen(base64_rows[i].padded),
            bn = strlen(base64_rows[i].bare);
        const uint8_t *bytes = (const uint8_t *)base64_rows[i].bytes;
        char text[16];
        uint8_t back[16];
        assert_int_equal(ensi_base64_encode(bytes, n, true, text, pn, &len), ENSIGN_OK);
        assert_int_equal(len, pn);
        assert_memory_equal(text, base64_rows[i].padded, pn);
        assert_int_equal(ensi_base64_encode(bytes, n, false, text, bn, &len), ENSIGN_OK);
        assert_int_equal(len, bn);
        assert_memory_equal(text, base64_rows[i].bare, bn);
        assert_int_equal(ensi_base64_decode(base64_rows[i].padded, pn, false, back, n, &len), ENSIGN_OK);
        assert_int_equal(len, n);
        assert_memory_equal(back, bytes, n);
        assert_int_equal(ensi_base64_decode(base64_rows[i].bare, bn, false, back, n, &len), ENSIGN_OK);
        assert_int_equal(len, n);
        assert_memory_equal(back, bytes, n);
    }
}

static void base64_fits_or_touches_nothing(void **state)
{
    char text[8];
    uint8_t bytes[8];
    size_t len = 99;
    (void)state;
    memset(text, 'Z', sizeof text);
    memset(bytes, 'Z', sizeof bytes);
    assert_int_equal(ensi_base64_encode((const uint8_t *)"foob", 4, true, text, 7, &len), ENSIGN_E_TOO_LARGE);
    assert_int_equal(ensi_base64_encode((const uint8_t *)"foob", 4, false, text, 5, &len),
        ENSIGN_E_TOO_LARGE);
    assert_int_equal(ensi_base64_decode("Zm9vYg==", 8, false, bytes, 3, &len), ENSIGN_E_TOO_LARGE);
    assert_int_equal(ensi_base64_decode("Zm9vYm", 6, false, bytes, 3, &len), ENSIGN_E_TOO_LARGE);
    assert_memory_equal(text, "ZZZZZZZZ", 8);
    assert_memory_equal(bytes, "ZZZZZZZZ", 8);
    assert_int_equal(len, 99);
}

static void base64_refuses_what_is_none(void **state)
{
    static const char *const rows[] = { "Z", "Zm9vZ", "Zg=", "Z===", "====", "=", "Zg==Zg==", "Zm9v=",
        "Zm9v====", "Zm 9", "Zm9-", "Zm9_", "Z\n9v" };
    uint8_t bytes[16];
    size_t len;
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_int_equal(ensi_base64_decode(rows[i], strlen(rows[i]), false, bytes, sizeof bytes, &len),
            ENSIGN_E_FORMAT);
    assert_int_equal(ensi_base64_decode("ab+/", 4, true, bytes, sizeof bytes, &len), ENSIGN_E_FORMAT);
    assert_int_equal(ensi_base64_decode("--__", 4, true, bytes, sizeof bytes, &len), ENSIGN_OK);
    assert_memory_equal(bytes, "\xFB\xEF\xFF", 3);
}

static void base64_decodes_in_place_and_all_bytes(void **state)
{
    uint8_t bytes[256];
    char text[344];
    size_t len;
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 7 + 1);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        assert_int_equal(ensi_base64_encode(bytes, n, n % 2 == 0, text, sizeof text, &len), ENSIGN_OK);
        assert_int_equal(ensi_base64_decode(text, len, false, (uint8_t *)text, sizeof text, &len), ENSIGN_OK);
        assert_int_equal(len, n);
        assert_memory_equal(text, bytes, n);
    }
}

/* ---- documents */

static void good_documents_are_read_to_the_end(void **state)
{
    static const char *const rows[] = {
        "{}", " \t\r\n{ \t\r\n} \t\r\n", "{\"a\":1}", "{ \"a\" : 1 , \"b\" : [ ] }",
        "{\"a\":[1,-0,0.5,1e9,-1.25E-07,2e+1,10]}",
        "{\"a\":[true,false,null,\"\",{},[[]],{\"b\":{\"c\":[{}]}}]}", "{\"\":0}", "{\"a\":0,\"a\":1}",
        "{\"a\":\"\\u0000\\uD83D\\uDE00\"}",
        "{\"\xC3\xBC\":\"\xE2\x82\xAC\xF0\x9F\x98\x80\x7f\"}",
        "{\"a\":\"\xEF\xBF\xBF\xF4\x8F\xBF\xBF\xED\x9F\xBF\xEE\x80\x80\"}",
    };
    char out[8];
    size_t len;
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        size_t n = strlen(rows[i]), trimmed = n;
        assert_int_equal(get_string(rows[i], n, "absent", out, sizeof out, &len), ENSIGN_AGAIN);
        while (trimmed > 0 && rows[i][trimmed - 1] != '}') trimmed--;
        for (size_t cut = 0; cut < trimmed; cut++) /* every shorter one is none */
            assert_int_equal(get_string(rows[i], cut, "absent", out, sizeof out, &len), ENSIGN_E_FORMAT);
    }
}

static void bad_documents_are_refused_even_behind_the_member(void **state)
{
    static const char *const tails[] = {
        "", "x", ",", "}x", "}}", "}{}", "},", ",}", ",\"b\"}", ",\"b\":}", ",\"b\" 1}", ",b:1}", ",'b':1}",
        ",\"b\":01}", ",\"b\":1.}",
        ",\"b\":.5}", ",\"b\":+1}", ",\"b\":-}", ",\"b\":1e}", ",\"b\":1e+}", ",\"b\":0x1}", ",\"b\":NaN}",
        ",\"b\":Infinity}", ",\"b\":tru}",
        ",\"b\":True}", ",\"b\":nul}", ",\"b\":[1,]}", ",\"b\":[,1]}", ",\"b\":[1 2]}", ",\"b\":[1}",
        ",\"b\":{]}", ",\"b\":{1:2}}",
        ",\"b\":\"\n\"}", ",\"b\":\"\t\"}", ",\"b\":\"\x1f\"}", ",\"b\":\"\\x41\"}", ",\"b\":\"\\u12\"}",
        ",\"b\":\"\\u12g4\"}",
        ",\"b\":\"\\uD800\"}", ",\"b\":\"\\uDC00\"}", ",\"b\":\"\\uD800\\uD800\"}", ",\"b\":\"\\uD800\\n\"}",
        ",\"b\":\"\\uD800x\"}",
        ",\"b\":\"\\uDBFF\\uE000\"}", ",\"b\":\"\\U0041\"}", ",\"b\":\"\\", ",\"b\":\"\xFF\"}",
        ",\"b\":\"\xC0\x80\"}", ",\"b\":\"\xC3\"}",
        ",\"b\":\"\xED\xA0\x80\"}", ",\"b\":\"\xF4\x90\x80\x80\"}", ",\"b\":\"\xE0\x80\x80\"}",
        ",\"b\":\"\xF0\x80\x80\x80\"}",
        ",\"b\":\"\x80\"}", ",\"b\":\"\xF8\x88\x80\x80\x80\"}", ",\"b\":1} //", ",/**/\"b\":1}", ",\"b\":1;}",
        "}\xEF\xBB\xBF",
    };
    char doc[128], out[8] = "before";
    size_t len = 99;
    int64_t number = 99;
    (void)state;
    for (size_t i = 0; i < COUNT(tails); i++) {
        int n = snprintf(doc, sizeof doc, "{\"a\":\"good\"%s", tails[i]);
        assert_int_equal(get_string(doc, (size_t)n, "a", out, sizeof out, &len), ENSIGN_E_FORMAT);
        n = snprintf(doc, sizeof doc, "{\"a\":7%s", tails[i]);
        assert_int_equal(get_int(doc, "a", &number), ENSIGN_E_FORMAT);
    }
    assert_string_equal(out, "before");
    assert_int_equal(len, 99);
    assert_true(number == 99);
}

static void only_an_object_has_members(void **state)
{
    static const char *const rows[] = { "", " ", "[]", "[{\"a\":\"x\"}]", "\"a\"", "1", "null", "true",
        "\xEF\xBB\xBF{}", "\0{}" };
    char out[8];
    size_t len;
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_int_equal(get_string(rows[i], strlen(rows[i]), "a", out, sizeof out, &len), ENSIGN_E_FORMAT);
    assert_int_equal(get_string("{}\0", 3, "a", out, sizeof out, &len), ENSIGN_E_FORMAT);
}

static void nesting_ends_at_64(void **state)
{
    char doc[256], out[8];
    size_t len;
    (void)state;
    for (size_t depth = 62; depth <= 65; depth++) { /* of arrays in the object, which is one level itself */
        size_t n = 0;
        n += (size_t)snprintf(doc, sizeof doc, "{\"a\":");
        for (size_t i = 0; i < depth; i++) doc[n++] = '[';
        for (size_t i = 0; i < depth; i++) doc[n++] = ']';
        doc[n++] = '}';
        assert_int_equal(get_string(doc, n, "b", out, sizeof out, &len),
                         depth <= 63 ? ENSIGN_AGAIN : ENSIGN_E_FORMAT);
    }
}

/* ---- strings */

static void strings_come_out_unescaped(void **state)
{
    static const struct { const char *in, *out; } rows[] = {
        { "", "" }, { "plain", "plain" }, { "\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t" },
        { "\\u0041\\u00e9\\u00E9", "A\xC3\xA9\xC3\xA9" },
        { "\\u07ff\\u0800\\uffff", "\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF" },
        { "\\uD800\\uDC00\\udbff\\udfff", "\xF0\x90\x80\x80\xF4\x8F\xBF\xBF" },
        { "\\uD83D\\uDE00", "\xF0\x9F\x98\x80" }, { "\xE2\x82\xAC", "\xE2\x82\xAC" },
        { "\\u005c\\u0022", "\\\"" }, { "}],{[", "}],{[" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char doc[128], out[64];
        size_t want = strlen(rows[i].out), len = 99;
        int n = snprintf(doc, sizeof doc, "{\"other\":\"x\",\"key\":\"%s\"}", rows[i].in);
        memset(out, 'Z', sizeof out);
        /* no room for the NUL */
        assert_int_equal(get_string(doc, (size_t)n, "key", out, want, &len), ENSIGN_E_TOO_LARGE);
        assert_int_equal(len, 99);
        assert_int_equal(out[0], 'Z');
        assert_int_equal(get_string(doc, (size_t)n, "key", out, want + 1, &len), ENSIGN_OK);
        assert_int_equal(len, want);
        assert_string_equal(out, rows[i].out);
        assert_int_equal(out[want + 1], 'Z');
    }
}

static void a_nul_in_a_string_is_counted(void **state)
{
    static const char doc[] = "{\"k\":\"a\\u0000b\"}";
    char out[8];
    size_t len;
    (void)state;
    assert_int_equal(get_string(doc, sizeof doc - 1, "k", out, sizeof out, &len), ENSIGN_OK);
    assert_int_equal(len, 3);
    assert_memory_equal(out, "a\0b", 4);
}

static void of_two_members_the_last_counts(void **state)
{
    static const char doc[] = "{\"a\":\"1\",\"in\":{\"a\":\"2\"},\"\\u0061\":\"3\","
                              "\"A\":\"4\",\"aa\":\"5\",\"\":\"6\",\"b\":\"7\",\"b\":null}";
    char out[8];
    size_t len;
    (void)state;
    assert_int_equal(get_string(doc, strlen(doc), "a", out, sizeof out, &len), ENSIGN_OK);
    assert_string_equal(out, "3"); /* names are compared unescaped, inner objects do not count */
    assert_int_equal(get_string(doc, strlen(doc), "", out, sizeof out, &len), ENSIGN_OK);
    assert_string_equal(out, "6");
    /* null: as if absent; an object: another kind */
    assert_int_equal(get_string(doc, strlen(doc), "b", out, sizeof out, &len), ENSIGN_AGAIN);
    assert_int_equal(get_string(doc, strlen(doc), "in", out, sizeof out, &len), ENSIGN_E_FORMAT);
    assert_string_equal(out, "6");
}

/* ---- numbers */

static void integers_of_any_spelling(void **state)
{
    static const struct { const char *text; int64_t value; } rows[] = {
        { "0", 0 }, { "-0", 0 }, { "1700000000", 1700000000 }, { "-17", -17 },
        { "1700000000.999", 1700000000 }, { "1.7e9", 1700000000 },
        { "1.7E+9", 1700000000 }, { "17e8", 1700000000 }, { "170000000000e-2", 1700000000 }, { "0.5", 0 },
        { "-0.5", 0 }, { "5e-1", 0 },
        { "12345e-99999999999", 0 }, { "0e99999999999", 0 }, { "0.0000017e15", 1700000000 },
        { "1.23456e2", 123 },
        { "9223372036854775807", INT64_MAX }, { "-9223372036854775808", INT64_MIN },
        { "9.223372036854775807e18", INT64_MAX },
        { "9223372036854775807.9", INT64_MAX }, { "-92233720368547758080e-1", INT64_MIN },
        { "1e18", 1000000000000000000 },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char doc[64];
        int64_t value = 99;
        (void)snprintf(doc, sizeof doc, "{\"exp\":%s}", rows[i].text);
        assert_int_equal(get_int(doc, "exp", &value), ENSIGN_OK);
        if (value != rows[i].value) fail_msg("%s gave %lld", rows[i].text, (long long)value);
    }
}

static void integers_out_of_range_or_of_another_kind(void **state)
{
    static const struct { const char *text; int rc; } rows[] = {
        { "9223372036854775808", ENSIGN_E_TOO_LARGE }, { "-9223372036854775809", ENSIGN_E_TOO_LARGE },
        { "1e19", ENSIGN_E_TOO_LARGE },
        { "1e999999999999", ENSIGN_E_TOO_LARGE }, { "99999999999999999999999999", ENSIGN_E_TOO_LARGE },
        { "\"1\"", ENSIGN_E_FORMAT },
        { "true", ENSIGN_E_FORMAT }, { "[1]", ENSIGN_E_FORMAT }, { "{}", ENSIGN_E_FORMAT },
        { "null", ENSIGN_AGAIN },
    };
    int64_t value = 99;
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char doc[64];
        (void)snprintf(doc, sizeof doc, "{\"exp\":%s}", rows[i].text);
        assert_int_equal(get_int(doc, "exp", &value), rows[i].rc);
    }
    assert_int_equal(get_int("{}", "exp", &value), ENSIGN_AGAIN);
    assert_true(value == 99);
}

/* ---- escape */

static void escaped_text_reads_back(void **state)
{
    char text[130], escaped[1024], doc[1040], back[256];
    size_t len = 0, back_len;
    (void)state;
    for (size_t i = 0; i < 128; i++) text[i] = (char)i;
    memcpy(text + 128, "\xC3\xBC", 2);
    assert_int_equal(ensi_json_escape(ensi_slice(text, sizeof text), escaped, sizeof escaped, &len),
        ENSIGN_OK);
    assert_int_equal(strlen(escaped), len);
    assert_int_equal(ensi_json_escape(ensi_slice(text, sizeof text), doc, len, &back_len),
        ENSIGN_E_TOO_LARGE);
    assert_int_equal(ensi_json_escape(ensi_slice(text, sizeof text), doc, len + 1, &back_len), ENSIGN_OK);
    (void)snprintf(doc, sizeof doc, "{\"k\":\"%s\"}", escaped);
    assert_int_equal(get_string(doc, strlen(doc), "k", back, sizeof back, &back_len), ENSIGN_OK);
    assert_int_equal(back_len, sizeof text);
    assert_memory_equal(back, text, sizeof text);
}

static void escape_writes_the_short_forms(void **state)
{
    char out[64] = "before";
    size_t len = 99;
    (void)state;
    assert_int_equal(ensi_json_escape(ensign_str("\xFF"), out, sizeof out, &len), ENSIGN_E_FORMAT);
    assert_int_equal(ensi_json_escape(ensign_str(""), out, 0, &len), ENSIGN_E_TOO_LARGE);
    assert_string_equal(out, "before");
    assert_int_equal(len, 99);
    assert_int_equal(ensi_json_escape(ensign_str("a\"\\/\b\f\n\r\t\x01"), out, sizeof out, &len), ENSIGN_OK);
    assert_string_equal(out, "a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001");
    assert_int_equal(ensi_json_escape(ensign_str(""), out, 1, &len), ENSIGN_OK);
    assert_int_equal(len, 0);
    assert_string_equal(out, "");
}

/* ---- JWT */

static size_t make_token(const char *payload, char *out, size_t cap)
{
    size_t at = 0, len;
    memcpy(out, "eyJhbGciOiJSUzI1NiJ9.", 21);
    at = 21;
    cap -= at + 10;
    assert_int_equal(ensi_base64_encode((const uint8_t *)payload, strlen(payload), false, out + at, cap,
                                        &len), ENSIGN_OK);
    for (size_t i = at; i < at + len; i++)
        out[i] = (char)(out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i]);
    at += len;
    memcpy(out + at, ".c2ln", 5);
    return at + 5;
}

static void jwt_times_are_read(void **state)
{
    static const struct { const char *payload; int64_t iat, nbf, exp; } rows[] = {
        { "{\"iss\":\"http://localhost:8088\","
          "\"sub\":\"01H784KEP6F5EMW9CBYAHFB3J3\",\"aud\":[\"http://localhost:3000\"],"
          "\"exp\":1700003600,\"nbf\":1700000000,\"iat\":1700000000,\"jti\":\"01hf7yat00zzzzzzzzzzzzzzzz\","
          "\"permissions\":[\"publisher\",\"subscriber\",\"topics:read\"],\"account\":\"sandbox\"}",
          1700000000, 1700000000, 1700003600 },
        { "{}", 0, 0, 0 }, { "{\"exp\":1700003600.75}", 0, 0, 1700003600 },
        { "{\"iat\":null,\"nbf\":5}", 0, 5, 0 },
        { "{\"name\":\"\xC3\xBC\xC3\xBF\xC3\xBE?\?\?>>>\",\"exp\":3}", 0, 0, 3 },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char token[1024];
        size_t n = make_token(rows[i].payload, token, sizeof token);
        ensi_jwt_t jwt = { 9, 9, 9 };
        assert_int_equal(ensi_jwt_read(ensi_slice(token, n), &jwt), ENSIGN_OK);
        assert_true(jwt.iat == rows[i].iat && jwt.nbf == rows[i].nbf && jwt.exp == rows[i].exp);
        assert_int_equal(ensi_jwt_read(ensi_slice(token, n - 4), &jwt), ENSIGN_OK); /* no signature */
    }
}

static void what_is_no_jwt_is_refused(void **state)
{
    static const char *const rows[] = {
        "", ".", "..", "a.b", "a..c", ".e30.c", "a.e30", "a.e30.c.d", "a.e3.c", "a.e30==.c", "a.e+/=.c",
        "a.W10.c", "a.!.c",
        "a.eyJleHAiOiIxIn0.c" /* {"exp":"1"} */, "a.eyJleHAiOjF9fQ.c" /* {"exp":1}} */,
    };
    ensi_jwt_t jwt = { 9, 9, 9 };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_int_equal(ensi_jwt_read(ensign_str(rows[i]), &jwt), ENSIGN_E_FORMAT);
    assert_true(jwt.iat == 9 && jwt.nbf == 9 && jwt.exp == 9);
}

static void a_jwt_over_8_kib_is_too_large(void **state)
{
    static char payload[ENSI_JWT_PAYLOAD_MAX + 2], token[3 * ENSI_JWT_PAYLOAD_MAX];
    ensi_jwt_t jwt = { 9, 9, 9 };
    size_t n;
    (void)state;
    memset(payload, ' ', ENSI_JWT_PAYLOAD_MAX);
    memcpy(payload, "{\"exp\":4}", 9);
    n = make_token(payload, token, sizeof token);
    assert_int_equal(ensi_jwt_read(ensi_slice(token, n), &jwt), ENSIGN_OK);
    assert_true(jwt.exp == 4);
    payload[ENSI_JWT_PAYLOAD_MAX] = ' ';
    n = make_token(payload, token, sizeof token);
    assert_int_equal(ensi_jwt_read(ensi_slice(token, n), &jwt), ENSIGN_E_TOO_LARGE);
    assert_true(jwt.exp == 4);
}

static void jwt_times_can_be_reckoned_with(void **state)
{
    static const struct { const char *payload; int rc; } rows[] = {
        { "{\"exp\":253402300799,\"iat\":0}", ENSIGN_OK },
        { "{\"exp\":253402300800}", ENSIGN_E_FORMAT },
        { "{\"exp\":9223372036854775807,\"iat\":-9223372036854775808}", ENSIGN_E_FORMAT },
        { "{\"iat\":-1}", ENSIGN_E_FORMAT },
        { "{\"nbf\":1e18}", ENSIGN_E_FORMAT },
    };
    char token[256];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t n = make_token(rows[i].payload, token, sizeof token);
        ensi_jwt_t jwt = { 9, 9, 9 };
        assert_int_equal(ensi_jwt_read(ensi_slice(token, n), &jwt), rows[i].rc);
        assert_true(rows[i].rc == ENSIGN_OK || (jwt.iat == 9 && jwt.nbf == 9 && jwt.exp == 9));
    }
}

static int read_payload(const char *payload, ensi_jwt_t *jwt)
{
    char token[1024];
    size_t n = make_token(payload, token, sizeof token);
    return ensi_jwt_read(ensi_slice(token, n), jwt);
}

/* A pair as the service gives it out: an hour, and a refresh token from 15 minutes before its end on. */
static void the_services_two_tokens_have_their_dates(void **state)
{
    static const char access[] =
        "{\"iss\":\"https://auth.rotational.app\",\"sub\":\"01H784KEP6F5EMW9CBYAHFB3J3\","
        "\"aud\":[\"https://ensign.rotational.app\"],\"exp\":1700003600,\"nbf\":1700000000,"
        "\"iat\":1700000000,\"jti\":\"01hf7yat00zzzzzzzzzzzzzzzz\","
        "\"org\":\"01H784KNY3GN2GC8NHW4ZKC5A9\","
        "\"project\":\"01H6PGFTK2X53RGG2KMSGR2M61\",\"permissions\":[\"publisher\",\"subscriber\"],"
        "\"account\":\"sandbox\"}";
    static const char refresh[] =
        "{\"iss\":\"https://auth.rotational.app\",\"sub\":\"01H784KEP6F5EMW9CBYAHFB3J3\","
        "\"aud\":[\"https://ensign.rotational.app\",\"https://auth.rotational.app/v1/refresh\"],"
        "\"exp\":1700007200,\"nbf\":1700002700,\"iat\":1700000000,\"jti\":\"01hf7yat00zzzzzzzzzzzzzzzz\"}";
    ensi_jwt_t jwt;
    (void)state;
    assert_int_equal(read_payload(access, &jwt), ENSIGN_OK);
    assert_true(jwt.iat == 1700000000 && jwt.nbf == jwt.iat && jwt.exp == jwt.iat + 3600);
    assert_int_equal(read_payload(refresh, &jwt), ENSIGN_OK);
    assert_true(jwt.iat == 1700000000 && jwt.nbf == jwt.iat + 2700 && jwt.exp == jwt.iat + 7200);
}

/* Each of the three dates, in each kind of value. */
static void a_jwt_date_is_a_number(void **state)
{
    static const char *const names[] = { "iat", "nbf", "exp" };
    static const struct { const char *text; int rc; int64_t value; } rows[] = {
        { "0", ENSIGN_OK, 0 }, { "-0", ENSIGN_OK, 0 }, { "1", ENSIGN_OK, 1 }, { "null", ENSIGN_OK, 0 },
        { "1700003600", ENSIGN_OK, 1700003600 }, { "1700003600.0", ENSIGN_OK, 1700003600 },
        { "1700003600.999999999", ENSIGN_OK, 1700003600 }, { "1.7000036e9", ENSIGN_OK, 1700003600 },
        { "17000036E+2", ENSIGN_OK, 1700003600 }, { "0.5", ENSIGN_OK, 0 }, { "-0.5", ENSIGN_OK, 0 },
        { "253402300799.9", ENSIGN_OK, 253402300799 },
        { "253402300800", ENSIGN_E_FORMAT, 0 }, { "-1", ENSIGN_E_FORMAT, 0 }, { "-1.5", ENSIGN_E_FORMAT, 0 },
        { "1e18", ENSIGN_E_FORMAT, 0 }, { "1e19", ENSIGN_E_TOO_LARGE, 0 }, { "1e999", ENSIGN_E_TOO_LARGE, 0 },
        { "\"1700003600\"", ENSIGN_E_FORMAT, 0 }, { "\"\"", ENSIGN_E_FORMAT, 0 },
        { "true", ENSIGN_E_FORMAT, 0 },
        { "false", ENSIGN_E_FORMAT, 0 }, { "[]", ENSIGN_E_FORMAT, 0 }, { "[1700003600]", ENSIGN_E_FORMAT, 0 },
        { "{}", ENSIGN_E_FORMAT, 0 }, { "NaN", ENSIGN_E_FORMAT, 0 }, { "01", ENSIGN_E_FORMAT, 0 },
        { "1.", ENSIGN_E_FORMAT, 0 }, { "+1", ENSIGN_E_FORMAT, 0 }, { "", ENSIGN_E_FORMAT, 0 },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (size_t k = 0; k < COUNT(names); k++) {
            ensi_jwt_t jwt = { 9, 9, 9 };
            char payload[128];
            int64_t want[3] = { 0, 0, 0 };
            int rc;
            (void)snprintf(payload, sizeof payload, "{\"%s\":%s}", names[k], rows[i].text);
            rc = read_payload(payload, &jwt);
            if (rc != rows[i].rc) fail_msg("%s gives %d, not %d", payload, rc, rows[i].rc);
            for (size_t j = 0; j < COUNT(names); j++) want[j] = rc != ENSIGN_OK ? 9 : 0;
            if (rc == ENSIGN_OK) want[k] = rows[i].value;
            if (jwt.iat != want[0] || jwt.nbf != want[1] || jwt.exp != want[2]) fail_msg("%s", payload);
        }
    }
}

/* One bad date spoils the good ones; those further in, and of other names, do not count. */
static void dates_are_members_of_the_payload_itself(void **state)
{
    static const struct { const char *payload; int rc; int64_t exp; } rows[] = {
        { "{\"exp\":1,\"exp\":2}", ENSIGN_OK, 2 },
        { "{\"in\":{\"exp\":7},\"aud\":[{\"exp\":7}]}", ENSIGN_OK, 0 },
        { "{\"Exp\":7,\"EXP\":7,\"exp \":7}", ENSIGN_OK, 0 }, { "{\"e\\u0078p\":7}", ENSIGN_OK, 7 },
        { "{\"exp\":7,\"nbf\":\"7\"}", ENSIGN_E_FORMAT, 9 },
        { "{\"iat\":-7,\"exp\":7}", ENSIGN_E_FORMAT, 9 },
        { "[{\"exp\":7}]", ENSIGN_E_FORMAT, 9 }, { "7", ENSIGN_E_FORMAT, 9 },
        { "{\"exp\":7", ENSIGN_E_FORMAT, 9 },
        { "{\"exp\":7}{}", ENSIGN_E_FORMAT, 9 }, { "\xEF\xBB\xBF{\"exp\":7}", ENSIGN_E_FORMAT, 9 },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensi_jwt_t jwt = { 9, 9, 9 };
        int rc = read_payload(rows[i].payload, &jwt);
        if (rc != rows[i].rc || jwt.exp != rows[i].exp) fail_msg("%s gives %d", rows[i].payload, rc);
    }
}

/* A good token with one byte of it replaced, by each value: what is read is the same or nothing. */
static void no_byte_of_a_payload_may_be_foreign(void **state)
{
    static const char good[] = "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjE3MDAwMDM2MDB9.c2ln";
    const size_t from = 21, to = 45;
    char token[sizeof good];
    (void)state;
    assert_true(good[from - 1] == '.' && good[to] == '.');
    for (size_t at = from; at < to; at++) {
        for (int c = 0; c < 256; c++) {
            bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                          c == '-' || c == '_';
            bool pad = c == '=' && at == to - 1; /* of a length that needs none */
            ensi_jwt_t jwt = { 9, 9, 9 };
            memcpy(token, good, sizeof good);
            token[at] = (char)c;
            if (letter || pad) continue;
            assert_int_equal(ensi_jwt_read(ensi_slice(token, sizeof good - 1), &jwt), ENSIGN_E_FORMAT);
            assert_true(jwt.exp == 9);
        }
    }
}

static void a_jwt_has_three_parts(void **state)
{
    static const char part[] = "eyJleHAiOjR9";
    ensi_jwt_t jwt;
    (void)state;
    for (size_t parts = 1; parts <= 6; parts++) {
        char token[128];
        size_t n = 0;
        for (size_t i = 0; i < parts; i++)
            n += (size_t)snprintf(token + n, sizeof token - n, "%s%s", i > 0 ? "." : "", part);
        jwt.exp = 9;
        assert_int_equal(ensi_jwt_read(ensi_slice(token, n), &jwt), parts == 3 ? ENSIGN_OK : ENSIGN_E_FORMAT);
        assert_true(jwt.exp == (parts == 3 ? 4 : 9));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_goes_both_ways),
        cmocka_unit_test(base64_fits_or_touches_nothing),
        cmocka_unit_test(base64_refuses_what_is_none),
        cmocka_unit_test(base64_decodes_in_place_and_all_bytes),
        cmocka_unit_test(good_documents_are_read_to_the_end),
        cmocka_unit_test(bad_documents_are_refused_even_behind_the_member),
        cmocka_unit_test(only_an_object_has_members),
        cmocka_unit_test(nesting_ends_at_64),
        cmocka_unit_test(strings_come_out_unescaped),
        cmocka_unit_test(a_nul_in_a_string_is_counted),
        cmocka_unit_test(of_two_members_the_last_counts),
        cmocka_unit_test(integers_of_any_spelling),
        cmocka_unit_test(integers_out_of_range_or_of_another_kind),
        cmocka_unit_test(escaped_text_reads_back),
        cmocka_unit_test(escape_writes_the_short_forms),
        cmocka_unit_test(jwt_times_are_read),
        cmocka_unit_test(what_is_no_jwt_is_refused),
        cmocka_unit_test(a_jwt_over_8_kib_is_too_large),
        cmocka_unit_test(jwt_times_can_be_reckoned_with),
        cmocka_unit_test(the_services_two_tokens_have_their_dates),
        cmocka_unit_test(a_jwt_date_is_a_number),
        cmocka_unit_test(dates_are_members_of_the_payload_itself),
        cmocka_unit_test(no_byte_of_a_payload_may_be_foreign),
        cmocka_unit_test(a_jwt_has_three_parts),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
