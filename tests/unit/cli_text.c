/* cli_text.c - what tools/ensign reads and writes as text: UTF-8, JSON, hexadecimal, numbers, times */
#include "../../tools/ensign/lib.c"
#include "../../tools/ensign/text.c"
#include "../../tools/common/utf8.c"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static ensign_slice_t slice(const char *s)
{
    ensign_slice_t r = { (const uint8_t *)s, strlen(s) };
    return r;
}

static void the_end_of_a_json_value_is_told(void **state)
{
    static const struct { const char *text; bool ok; size_t end; } rows[] = {
        { "{}", true, 2 },          { " {} ", true, 4 },       { "{} {}", true, 3 },   { "1 2", true, 2 },
        { "[1]x", true, 3 },        { "\"a\"\"b\"", true, 3 }, { "", false, 0 },       { " ", false, 1 },
        { "{\"a\" 1}", false, 5 },  { "[1 2]", false, 3 },     { "{\"a\":", false, 5 }, { "nul", false, 3 },
        { "{\"a\":1,}", false, 7 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        size_t end = 99;
        assert_int_equal(rows[i].ok, text_json(slice(rows[i].text), &end));
        assert_int_equal(rows[i].end, end);
    }
}

static void json_is_told_from_what_is_none(void **state)
{
    static const char *const good[] = {
        "null",
        " true\t",
        "false",
        "0",
        "-0",
        "12.5e+3",
        "1E-2",
        "\"\"",
        "\"a\\u00e9\\n\\/\"",
        "[]",
        "{}",
        "[[],{}]",
        "[1, \"a\", null]",
        "{\"a\": {\"b\": [1]}, \"c\": \"\"}",
        "\"\xc3\xa9\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\"\\ude00x\"",
    };
    static const char *const bad[] = {
        "",      " ",    "nul",   "truee",   "01",          "-",        "1.",       ".5",
        "1e",    "+1",   "\"",    "\"\\x\"", "\"\\u12g4\"", "\"\t\"",   "[",        "]",
        "[1,]",  "[,1]", "[1 2]", "{",       "{\"a\"}",     "{\"a\":}", "{a:1}",    "{\"a\":1,}",
        "{1:1}", "[}",   "{]",    "1 2",     "[]]",         "NaN",      "\"\xff\"", "'a'",
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++)
        if (!text_is_json(slice(good[i]))) fail_msg("%s is JSON", good[i]);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (text_is_json(slice(bad[i]))) fail_msg("%s is no JSON", bad[i]);
}

static void json_may_be_512_deep(void **state)
{
    char text[2 * 513 + 1];

    (void)state;
    for (size_t depth = 512; depth <= 513; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = '\0';
        assert_int_equal(text_is_json(slice(text)), depth == 512);
    }
}

static void a_character_is_valid_utf8_or_none(void **state)
{
    static const struct { const char *bytes; size_t len; uint32_t c;
    } rows[] = {
        { "a", 1, 'a' },
        { "\x7f", 1, 0x7F },
        { "\xc2\x80", 2, 0x80 },
        { "\xe2\x82\xac", 3, 0x20AC },
        { "\xf0\x9f\x98\x80", 4, 0x1F600 },
        { "\xf4\x8f\xbf\xbf", 4, 0x10FFFF },
        { "\x80", 0, 0 },
        { "\xc2", 0, 0 },
        { "\xc2x", 0, 0 },
        { "\xe2\x82", 0, 0 },
        { "\xff", 0, 0 },
        { "\xc0\x80", 0, 0 },
        { "\xc1\xbf", 0, 0 },
        { "\xe0\x9f\xbf", 0, 0 },
        { "\xf0\x8f\xbf\xbf", 0, 0 }, /* overlong */
        { "\xed\xa0\x80", 0, 0 },
        { "\xf4\x90\x80\x80", 0, 0 }, /* a surrogate; past the end */
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint32_t c = 0;
        assert_int_equal(utf8_char(slice(rows[i].bytes), &c), rows[i].len);
        assert_int_equal(c, rows[i].c);
        assert_int_equal(utf8_valid(slice(rows[i].bytes)), rows[i].len > 0);
    }
}

static void controls_are_unsafe(void **state)
{
    static const uint32_t unsafe[] = { 0,    7,      0x1B,   0x1F,   0x7F,   0x80,   0x9B,
                                       0x9F, 0x061C, 0x200E, 0x202E, 0x2028, 0x2066, 0x2069 };
    static const uint32_t safe[] = { ' ', '~', 0xA0, 0xE9, 0x200D, 0x20AC, 0x206A, 0x1F600 };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(unsafe); i++) assert_true(text_unsafe(unsafe[i]));
    for (size_t i = 0; i < COUNT_OF(safe); i++) assert_false(text_unsafe(safe[i]));
}

static void hexadecimal_is_pairs_of_digits(void **state)
{
    static const char *const bad[] = { "0", "0g", "00 1", "0x00", "00-11" };
    uint8_t *bytes;
    size_t len;

    (void)state;
    assert_true(text_from_hex(" 00 fF\t1a\n", &bytes, &len));
    assert_int_equal(len, 3);
    assert_memory_equal(bytes, "\x00\xff\x1a", 3);
    free(bytes);
    assert_true(text_from_hex("", &bytes, &len));
    assert_int_equal(len, 0);
    free(bytes);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_false(text_from_hex(bad[i], &bytes, &len));
        assert_null(bytes);
    }
}

static void numbers_and_times_are_read_whole(void **state)
{
    static const struct { const char *text; uint64_t ms;
    } times[] = {
        { "0", 0 },       { "2", 2000 },    { "0.5", 500 },    { ".25s", 250 },
        { "300ms", 300 }, { "5m", 300000 }, { "1h", 3600000 },
    };
    static const char *const bad[] = { "", "x", "-1", "5x", "1 s", "1e400", "ms", "inf" };
    uint64_t n;
    double d;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(times); i++) {
        assert_true(text_to_ms(times[i].text, &n));
        assert_int_equal(n, times[i].ms);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_false(text_to_ms(bad[i], &n));
        assert_false(text_to_u64(bad[i], &n));
    }
    assert_true(text_to_u64("18446744073709551615", &n) && n == UINT64_MAX);
    assert_false(text_to_u64("18446744073709551616", &n));
    assert_true(text_to_double("-2.5e3", &d) && d == -2500);
    assert_false(text_to_double("inf", &d));
    assert_false(text_to_double("1x", &d));
}

static void times_of_rfc_3339_are_read(void **state)
{
    static const struct { const char *text; int64_t seconds; int32_t nanos; } good[] = {
        { "2025-03-09T10:11:12Z", 1741515072, 0 },
        { "2025-03-09 10:11:12.5z", 1741515072, 500000000 },
        { "2025-03-09t11:41:12.123456789123+01:30", 1741515072, 123456789 },
        { "2025-03-08T22:11:12-12:00", 1741515072, 0 },
        { "1970-01-01T00:00:01Z", 1, 0 },
        { "1970-01-01T00:00:00.000000001Z", 0, 1 },
        { "2000-02-29T23:59:60Z", 951868800, 0 },
        { "2024-12-31T00:00:00Z", 1735603200, 0 },
        { "9999-12-31T23:59:59Z", 253402300799, 0 },
    };
    static const char *const bad[] = {
        "", "now", "2025-03-09", "2025-03-09T10:11Z", "2025-03-09T10:11:12", "2025-3-09T10:11:12Z",
        "2025-13-09T10:11:12Z", "2025-02-29T10:11:12Z", "1900-02-29T10:11:12Z", "2100-02-29T10:11:12Z",
        "2025-03-00T10:11:12Z", "2025-03-09T24:00:00Z", "2025-03-09T10:60:12Z", "2025-03-09T10:11:61Z",
        "2025-03-09T10:11:12.Z", "2025-03-09T10:11:12+0100", "2025-03-09T10:11:12+24:00",
        "2025-03-09T10:11:12Zx", " 2025-03-09T10:11:12Z", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z",
        "1970-01-01T00:59:59+01:00", "02025-03-09T10:11:12Z",
    };
    ensign_time_t t;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        assert_true(text_to_time(good[i].text, &t));
        assert_int_equal(t.seconds, good[i].seconds);
        assert_int_equal(t.nanos, good[i].nanos);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) assert_false(text_to_time(bad[i], &t));
}

static void what_is_shown_is_short(void **state)
{
    static const struct { double seconds; const char *text; } durations[] = {
        { 0, "under 1 ms" }, { 0.00015, "150 us" }, { 0.0025, "2.5 ms" }, { 2.25, "2.2 s" },
        { 61, "1 m 1 s" }, { 7260, "2 h 1 m" }, { 90000, "1 d 1 h" },
    };
    ensign_time_t none = { 0, 0 }, whole = { 1741515072, 0 }, part = { 1741515072, 500000000 };
    char out[TIME_TEXT];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(durations); i++)
        assert_string_equal(text_duration(durations[i].seconds, out), durations[i].text);
    assert_string_equal(text_time(none, out), "");
    assert_string_equal(text_time(whole, out), "2025-03-09T10:11:12Z");
    assert_string_equal(text_time(part, out), "2025-03-09T10:11:12.5Z");
    assert_string_equal(text_number(0, out), "0");
    assert_string_equal(text_number(999, out), "999");
    assert_string_equal(text_number(1234567, out), "1,234,567");
    assert_string_equal(text_number(UINT64_MAX, out), "18,446,744,073,709,551,615");
    assert_string_equal(text_size(999, out), "999 B");
    assert_string_equal(text_size(1500000, out), "1.5 MB");
}

static void base64_is_padded(void **state)
{
    static const struct { const char *bytes, *text; } rows[] = {
        { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" }, { "\xff\xfe\xfd\xfc", "//79/A==" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char *text = text_base64(slice(rows[i].bytes));
        assert_string_equal(rows[i].text, text);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_end_of_a_json_value_is_told),
        cmocka_unit_test(json_is_told_from_what_is_none),
        cmocka_unit_test(base64_is_padded),
        cmocka_unit_test(json_may_be_512_deep),
        cmocka_unit_test(a_character_is_valid_utf8_or_none),
        cmocka_unit_test(controls_are_unsafe),
        cmocka_unit_test(hexadecimal_is_pairs_of_digits),
        cmocka_unit_test(numbers_and_times_are_read_whole),
        cmocka_unit_test(times_of_rfc_3339_are_read),
        cmocka_unit_test(what_is_shown_is_short),
    };
    return cmocka_run_group_tests_name("cli_text", tests, NULL, NULL);
}
