/* cli_from_json.c - a line of JSON becomes the event that it was printed of, or says what is wrong with it */
#include "../../tools/ensign/lib.c"
#include "../../tools/ensign/text.c"
#include "../../tools/ensign/from_json.c"
#include "../../tools/common/utf8.c"
#include <setjmp.h>
#include <cmocka.h>

static from_json_t reader;
static ensign_event_t event;

static ensign_slice_t slice(const char *s)
{
    return ensi_slice(s, strlen(s));
}

static bool is(ensign_slice_t s, const char *bytes, size_t len)
{
    return s.len == len && (len == 0 || memcmp(s.ptr, bytes, len) == 0);
}
#define IS(s, text) is(s, text, sizeof(text) - 1)

static from_json_result_t read_text(const char *line)
{
    memset(&event, 0, sizeof event);
    return from_json(&reader, slice(line), &event);
}

static int end_reader(void **state)
{
    (void)state;
    from_json_end(&reader);
    return 0;
}

static void all_fields_of_an_event(void **state)
{
    static const char line[] =
        "{\"kind\":\"event\",\"id\":\"06h2swg508000001\",\"topic\":null,\"mimetype\":\"application/json\","
        "\"mimetype_number\":50,\"type\":{\"name\":\"Foo\",\"version\":\"1.2.3\"},\"metadata\":{\"a\\u0000\":"
        "\"1\\n\",\"\":\"\",\"b\":\"\\u00fc\"},\"key\":\"AP8=\",\"key_encoding\":\"base64\",\"encryption\":"
        "\"CAE=\",\"compression\":\"EAI=\",\"data\":\"{\\\"t\\\": \\ud83d\\ude00}\","
        "\"data_encoding\":\"text\"} ";
    ensign_slice_t key, value;
    size_t at = 0;

    (void)state;
    assert_int_equal(read_text(line), FROM_JSON_EVENT);
    assert_true(IS(event.data, "{\"t\": \xf0\x9f\x98\x80}"));
    assert_true(IS(event.key, "\0\xff"));
    assert_true(IS(event.encryption, "\x08\x01"));
    assert_true(IS(event.compression, "\x10\x02"));
    assert_int_equal(event.mimetype, 50);
    assert_true(IS(event.type.name, "Foo"));
    assert_true(event.type.major == 1 && event.type.minor == 2 && event.type.patch == 3);
    assert_true(ensign_metadata_next(&event, &at, &key, &value) && IS(key, "a\0") && IS(value, "1\n"));
    assert_true(ensign_metadata_next(&event, &at, &key, &value) && IS(key, "") && IS(value, ""));
    assert_true(ensign_metadata_next(&event, &at, &key, &value) && IS(key, "b") && IS(value, "\xc3\xbc"));
    assert_false(ensign_metadata_next(&event, &at, &key, &value));
}

static void data_alone_will_do(void **state)
{
    (void)state;
    assert_int_equal(read_text("{\"data\": \"\"}"), FROM_JSON_EVENT);
    assert_int_equal(event.data.len, 0);
    assert_int_equal(event.mimetype, ENSIGN_MIME_TEXT_PLAIN);
    assert_int_equal(event.key.len + event.metadata.len + event.type.name.len, 0);
    assert_int_equal(read_text("{\"d\\u0061ta\": \"x\", \"key\": null, \"type\": null, \"metadata\": null, "
                               "\"mimetype\": \"text/csv\", \"other\": [{\"data\": 1}]}"), FROM_JSON_EVENT);
    assert_true(IS(event.data, "x"));
    assert_int_equal(event.mimetype, ENSIGN_MIME_TEXT_CSV);
}

static void a_gap_is_no_event(void **state)
{
    (void)state;
    assert_int_equal(read_text("{\"kind\":\"gap\",\"since\":null,\"error\":\"lost\"}"), FROM_JSON_NONE);
    assert_int_equal(read_text("{\"kind\":\"topic\",\"name\":\"a\"}"), FROM_JSON_NONE);
    assert_int_equal(read_text("{\"kind\":\"key\"}"), FROM_JSON_NONE);
}

static void every_mime_type_comes_back(void **state)
{
    char line[100];

    (void)state;
    for (int32_t n = -2; n < 1100; n++) {
        snprintf(line, sizeof line, "{\"data\":\"\",\"mimetype\":\"%s\",\"mimetype_number\":%d}",
                 ensign_mime_name(n), (int)n);
        assert_int_equal(read_text(line), FROM_JSON_EVENT);
        assert_int_equal(event.mimetype, n);
    }
}

static void what_is_wrong_is_named(void **state)
{
    static const struct { const char *line, *why; } bad[] = {
        { "", "not a JSON object" }, { "x", "not a JSON object" }, { "[]", "not a JSON object" },
        { "\"a\"", "not a JSON object" }, { "{\"data\":\"x\"", "not a JSON object" },
        { "{\"data\":\"x\"} x", "not a JSON object" }, { "{\"data\":\"x\",}", "not a JSON object" },
        { "{,\"data\":\"x\"}", "not a JSON object" }, { "{\"data\":\"\\ud800\"}", "not a JSON object" },
        { "{\"data\" \"x\"}", "not a JSON object" }, { "{\"a\":1 \"data\":\"x\"}", "not a JSON object" },
        { "{}", "data is missing" }, { "{\"data\":null}", "data is missing" },
        { "{\"data\":\"a\",\"data\":\"b\"}", "data is given twice" },
        { "{\"data\":{}}", "data: give a string" }, { "{\"data\":5}", "data: give a string" },
        { "{\"data\":\"!\",\"data_encoding\":\"base64\"}", "data is not base64" },
        { "{\"data\":\"x\",\"data_encoding\":\"hex\"}", "data_encoding: give \"text\" or \"base64\"" },
        { "{\"data\":\"x\",\"data_encoding\":7}", "data_encoding: give" },
        { "{\"data\":\"x\",\"key\":[]}", "key: give a string" },
        { "{\"data\":\"x\",\"key\":\"AAA\\u0000\",\"key_encoding\":\"base64\"}", "key is not base64" },
        { "{\"data\":\"x\",\"kind\":\"ack\"}", "kind: give \"event\"" },
        { "{\"data\":\"x\",\"kind\":1}", "kind: give a string" },
        { "{\"data\":\"x\",\"mimetype\":\"nope\"}", "mimetype: give one that the service knows" },
        { "{\"data\":\"x\",\"mimetype\":\"unknown\"}", "mimetype: give one that the service knows" },
        { "{\"data\":\"x\",\"mimetype\":50}", "mimetype: give a string" },
        { "{\"data\":\"x\",\"mimetype\":\"text/csv\",\"mimetype_number\":50}", "and mimetype_number differ" },
        { "{\"data\":\"x\",\"mimetype_number\":1.5}", "mimetype_number: give a whole number" },
        { "{\"data\":\"x\",\"mimetype_number\":2147483648}", "mimetype_number: give a whole number" },
        { "{\"data\":\"x\",\"mimetype_number\":99999999999999999999}", "mimetype_number: give a whole" },
        { "{\"data\":\"x\",\"mimetype_number\":\"50\"}", "mimetype_number: give a whole number" },
        { "{\"data\":\"x\",\"type\":\"Foo\"}", "type: give an object" },
        { "{\"data\":\"x\",\"type\":{\"name\":\"a\"}}", "type.version: give a semantic version" },
        { "{\"data\":\"x\",\"type\":{\"name\":\"a\",\"version\":\"1.2\"}}", "type.version: give a semantic" },
        { "{\"data\":\"x\",\"type\":{\"name\":\"a\",\"version\":\"1.2.3\\u0000x\"}}",
          "type.version: give a semantic" },
        { "{\"data\":\"x\",\"type\":{\"name\":1,\"version\":\"1.2.3\"}}", "type.name: give a string" },
        { "{\"data\":\"x\",\"metadata\":[]}", "metadata: give an object of strings" },
        { "{\"data\":\"x\",\"metadata\":{\"a\":7}}", "metadata: the value of \"a\" is not a string" },
        { "{\"data\":\"x\",\"metadata\":{\"a\":null}}", "metadata: the value of \"a\" is not a string" },
        { "{\"data\":\"x\",\"metadata\":{\"a\":\"1\",\"b\":\"2\",\"\\u0061\":\"3\"}}",
          "metadata: the key \"a\" is given twice" },
        { "{\"data\":\"x\",\"encryption\":\"!\"}", "encryption is not base64" },
        { "{\"data\":\"x\",\"compression\":{}}", "compression: give a string" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_int_equal(read_text(bad[i].line), FROM_JSON_BAD);
        if (!strstr(reader.why, bad[i].why)) fail_msg("%s: %s, not %s", bad[i].line, reader.why, bad[i].why);
    }
}

/* Pairs of each size around where the encoded one needs more bytes. The room is as large as make_room says,
 * and the sanitizer watches its end. */
static void metadata_fits_into_the_room(void **state)
{
    static char line[70000];
    static const size_t sizes[] = { 0, 1, 60, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128, 16370 };
    ensign_slice_t key, value;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t at = 0, count = 0, n = (size_t)snprintf(line, sizeof line, "{\"data\":\"\",\"metadata\":{");
        for (char k = 'a'; k <= 'd'; k++) {
            n += (size_t)snprintf(line + n, sizeof line - n, "%s\"%c\":\"", k > 'a' ? "," : "", k);
            memset(line + n, 'x', sizes[i]);
            n += sizes[i];
            line[n++] = '"';
        }
        memcpy(line + n, "}}", 3);
        assert_int_equal(read_text(line), FROM_JSON_EVENT);
        assert_true(event.metadata.ptr + event.metadata.len <= reader.room + reader.cap);
        for (; ensign_metadata_next(&event, &at, &key, &value); count++)
            assert_true(key.len == 1 && key.ptr[0] == 'a' + (char)count && value.len == sizes[i]);
        assert_int_equal(count, 4);
        from_json_end(&reader);
    }
}

/* Each prefix of a good line, and that line with each byte changed: an event or a reason, and no more. */
static void a_broken_line_is_harmless(void **state)
{
    static const char good[] =
        "{\"kind\":\"event\",\"mimetype\":\"text/plain\",\"mimetype_number\":1,\"type\":{\"name\":\"A\","
        "\"version\":\"1.0.0\"},\"metadata\":{\"k\":\"v\",\"l\":\"\\u00e9\"},\"key\":\"aw==\","
        "\"key_encoding\":\"base64\",\"data\":\"\\ud83d\\ude00\",\"data_encoding\":\"text\"}";
    size_t len = sizeof good - 1;

    (void)state;
    assert_int_equal(read_text(good), FROM_JSON_EVENT);
    for (size_t i = 0; i < len; i++) {
        static const char bytes[] = "\0\"\\{}[],:0n\x80\xff";
        char *line = malloc(len); /* so that a read behind its end is noticed */
        assert_non_null(line);
        memcpy(line, good, len);
        assert_int_equal(from_json(&reader, ensi_slice(line, i), &event), FROM_JSON_BAD);
        for (size_t k = 0; k < sizeof bytes - 1; k++) {
            line[i] = bytes[k];
            (void)from_json(&reader, ensi_slice(line, len), &event);
            from_json_end(&reader);
        }
        free(line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(all_fields_of_an_event, end_reader),
        cmocka_unit_test_teardown(data_alone_will_do, end_reader),
        cmocka_unit_test_teardown(a_gap_is_no_event, end_reader),
        cmocka_unit_test_teardown(every_mime_type_comes_back, end_reader),
        cmocka_unit_test_teardown(what_is_wrong_is_named, end_reader),
        cmocka_unit_test_teardown(metadata_fits_into_the_room, end_reader),
        cmocka_unit_test_teardown(a_broken_line_is_harmless, end_reader),
    };
    return cmocka_run_group_tests_name("cli_from_json", tests, NULL, NULL);
}
