/* schema.c - the types and the JSON of ensign call (tools/ensign/schema.h): what goes in and out, what is
 * said of a wrong field, and descriptors, messages and JSON of somebody who means harm */
#include "../../tools/ensign/schema.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))
#define ORDER       "shop.Order"
#ifndef SCHEMA_SET
#define SCHEMA_SET "build/gen/schema.set"
#endif

static ensign_slice_t str(const char *s)
{
    ensign_slice_t r = { (const uint8_t *)s, strlen(s) };
    return r;
}

static char *text(ensign_slice_t s) /* the caller's to free */
{
    char *copy = malloc(s.len + 1);

    assert_non_null(copy);
    if (s.len > 0) memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return copy;
}

/* The descriptors of tests/unit/schema.proto and schema_old.proto, as protoc makes them. */
static ensign_slice_t set;

static int read_set(void **state)
{
    static uint8_t bytes[65536];
    FILE *f = fopen(SCHEMA_SET, "rb");

    (void)state;
    if (!f) return -1;
    set.ptr = bytes;
    set.len = fread(bytes, 1, sizeof bytes, f);
    (void)fclose(f);
    return set.len > 0 && set.len < sizeof bytes ? 0 : -1;
}

static schema_t *shop(void)
{
    schema_t *s = schema_new();

    assert_non_null(s);
    assert_true(schema_add_set(s, set));
    assert_null(schema_import(s));
    if (!schema_link(s)) fail_msg("%s", schema_error(s));
    return s;
}

static void check_error(schema_t *s, const char *expected)
{
    assert_string_equal(expected, schema_error(s));
}

/* ---- JSON in and out */

/* From JSON, and back. out NULL: the same. */
static void comes_back(schema_t *s, const char *type, const char *in, const char *out, int flags)
{
    ensign_slice_t message, json;
    uint8_t *kept;
    char *got;

    if (!schema_from_json(s, type, str(in), flags, &message)) fail_msg("%s: %s", in, schema_error(s));
    kept = (uint8_t *)text(message);
    message.ptr = kept;
    if (!schema_to_json(s, type, message, flags, &json)) fail_msg("%s: %s", in, schema_error(s));
    got = text(json);
    assert_string_equal(out ? out : in, got);
    free(got);
    free(kept);
}

static void json_goes_in_and_out(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        { "{}", NULL },
        { "{\"id\":1}", "{\"id\":\"1\"}" },
        { "{\"id\":\"-9223372036854775808\",\"u64\":\"18446744073709551615\",\"f64\":\"5\"}",
          "{\"id\":\"-9223372036854775808\",\"u64\":\"18446744073709551615\",\"f64\":\"5\"}" },
        { "{\"u32\":4294967295,\"s32\":-5}", NULL },
        { "{\"data\":\"AP8=\"}", NULL },
        { "{\"data\":\"AP8\"}", "{\"data\":\"AP8=\"}" },
        { "{\"byName\":{\"a\":{\"count\":1},\"b\":{}}}", NULL },
        { "{\"by_name\":{\"\":{}}}", "{\"byName\":{\"\":{}}}" },
        { "{\"colors\":{\"-1\":\"GREEN\",\"7\":\"LATE\"}}", NULL },
        { "{\"color\":1}", "{\"color\":\"GREEN\"}" },
        { "{\"color\":5}", NULL },
        { "{\"card\":\"\"}", NULL },
        { "{\"barter\":{\"name\":\"x\"}}", NULL },
        { "{\"parts\":[{\"name\":\"a\",\"parts\":[{\"count\":2}]},{}]}", NULL },
        { "{\"at\":\"2026-01-02T03:04:05Z\"}", NULL },
        { "{\"at\":\"2026-01-02T03:04:05.000001+01:00\"}", "{\"at\":\"2026-01-02T02:04:05.000001Z\"}" },
        { "{\"takes\":\"-1.500s\"}", NULL },
        { "{\"extra\":{\"a\":[1,null,{\"b\":true}],\"c\":\"d\"}}", NULL },
        { "{\"any\":{\"@type\":\"type.googleapis.com/shop.Part\",\"name\":\"x\"}}", NULL },
        { "{\"any\":{\"@type\":\"example.com/types/shop.Part\",\"name\":\"x\"}}", NULL },
        { "{\"any\":{\"@type\":\"type.googleapis.com/google.protobuf.Duration\",\"value\":\"2s\"}}", NULL },
        { "{\"any\":{\"@type\":\"type.googleapis.com/shop.Part\",\"note\":"
          "{\"@type\":\"type.googleapis.com/shop.Part\",\"count\":3}}}",
          NULL },
        { "{\"nothing\":{}}", NULL },
        { "{\"maybe\":\"0\"}", NULL },
        { "{\"mask\":\"by_name,at.seconds\"}", "{\"mask\":\"byName,at.seconds\"}" },
        { "{\"list\":[1,\"a\"],\"value\":null}", "{\"list\":[1,\"a\"],\"value\":null}" },
        { "{\"price\":\"NaN\",\"weight\":\"-Infinity\"}", NULL },
        { "{\"price\":1.5e3,\"paid\":true}", "{\"price\":1500,\"paid\":true}" },
        { "{\"rank\":0}", NULL },
        { "{\"u32\":\"5\",\"s32\":1e2}", "{\"u32\":5,\"s32\":100}" },
        { "{\"flags\":{\"true\":\"a\"}}", NULL },
        { "{\"tags\":[\"a\",\"\"],\"strange\":\"b\"}", NULL },
        { "{\"text\":\"\\u00e9\\\"\\\\\\n\"}", "{\"text\":\"\xc3\xa9\\\"\\\\\\n\"}" },
        { "{\"text\":null,\"parts\":null}", "{}" },
        { " { \"tags\" : [ ] } ", "{}" },
    };
    schema_t *s = shop();

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) comes_back(s, ORDER, rows[i].in, rows[i].out, 0);
    comes_back(s, "shop.old.Item", "{\"name\":\"a\",\"count\":1}", NULL, 0);
    comes_back(s, "google.protobuf.Empty", "{}", NULL, 0);
    comes_back(s, "google.protobuf.Timestamp", "\"2026-01-02T03:04:05Z\"", NULL, 0);
    schema_free(s);
}

static void defaults_and_unknown_fields_are_options(void **state)
{
    schema_t *s = shop();
    ensign_slice_t out;

    (void)state;
    comes_back(s, "shop.Part", "{}", "{\"name\":\"\",\"count\":0,\"parts\":[]}", SCHEMA_DEFAULTS);
    comes_back(s, "shop.Part", "{\"no\":1,\"count\":1}", "{\"count\":1}", SCHEMA_IGNORE_UNKNOWN);
    assert_false(
        schema_from_json(s, "shop.Part", str("{\"no\":1,\"count\":\"x\"}"), SCHEMA_IGNORE_UNKNOWN, &out));
    check_error(s, "count: \"x\" is not a whole number from -2147483648 to 2147483647");
    comes_back(s, "shop.Part", "{\"count\":1}", "{\n \"count\": 1\n}", SCHEMA_PRETTY);
    schema_free(s);
}

/* ---- a wrong field is named with its path: what is said of each, as it stands */

static void a_wrong_field_is_named_with_its_path(void **state)
{
#define HAS   "; it has id, data, byName, colors, color, card, barter, parts, at, takes, extra, any and others"
#define INT32 "a whole number from -2147483648 to 2147483647"
    static const struct {
        const char *json, *error;
    } rows[] = {
        { "{\"nope\":1}", "nope: shop.Order has no such field" HAS },
        { "{\"barter\":{\"nope\":1}}",
          "barter.nope: shop.Part has no such field; it has name, count, parts, note" },
        { "{\"parts\":[{},{\"parts\":[{},{},{\"q\":1}]}]}",
          "parts[1].parts[2].q: shop.Part has no such field; it has name, count, parts, note" },
        { "{\"byName\":{\"a b\":{\"q\":1}}}",
          "byName[\"a b\"].q: shop.Part has no such field; it has name, count, parts, note" },
        { "{\"any\":{\"@type\":\"type.googleapis.com/shop.Part\",\"note\":"
          "{\"@type\":\"type.googleapis.com/shop.Part\",\"q\":1}}}",
          "any.note.q: shop.Part has no such field; it has name, count, parts, note" },
        { "{\"nothing\":{\"q\":1}}", "nothing.q: google.protobuf.Empty has no such field; it has no fields" },
        { "{\"id\":\"x\"}",
          "id: \"x\" is not a whole number from -9223372036854775808 to 9223372036854775807" },
        { "{\"id\":1.5}", "id: 1.5 is not a whole number from -9223372036854775808 to 9223372036854775807" },
        { "{\"u32\":-1}", "u32: -1 is not a whole number from 0 to 4294967295" },
        { "{\"u64\":18446744073709551616}",
          "u64: 18446744073709551616 is not a whole number from 0 to 18446744073709551615" },
        { "{\"parts\":[{\"count\":1},{\"count\":{}}]}", "parts[1].count: {} is not " INT32 },
        { "{\"parts\":[[1]]}", "parts[0]: [1] is not an object, the fields of shop.Part" },
        { "{\"parts\":[5]}", "parts[0]: 5 is not an object, the fields of shop.Part" },
        { "{\"barter\":\"x\"}", "barter: \"x\" is not an object, the fields of shop.Part" },
        { "{\"tags\":[\"a\",1]}", "tags[1]: 1 is not a string" },
        { "{\"byName\":[1]}", "byName: [1] is not an object" },
        { "{\"byName\":{\"a\":{\"count\":\"z\"}}}", "byName[\"a\"].count: \"z\" is not " INT32 },
        { "{\"colors\":{\"x\":\"RED\"}}", "colors, a key: \"x\" is not " INT32 },
        { "{\"times\":{\"x\":\"2026-01-02T03:04:05Z\"}}", "times, a key: \"x\" is not " INT32 },
        { "{\"times\":{\"1\":\"now\"}}",
          "times[\"1\"]: \"now\" is not a time such as \"2026-01-02T03:04:05Z\"" },
        { "{\"colors\":{\"1\":\"BLUE\"}}",
          "colors[\"1\"]: \"BLUE\" is not a value of shop.Color: RED, GREEN, LATE" },
        { "{\"color\":\"BLUE\"}", "color: \"BLUE\" is not a value of shop.Color: RED, GREEN, LATE" },
        { "{\"card\":\"a\",\"barter\":{}}", "barter: card is given, too; the oneof payment takes one field" },
        { "{\"at\":\"yesterday\"}", "at: \"yesterday\" is not a time such as \"2026-01-02T03:04:05Z\"" },
        { "{\"takes\":\"5\"}", "takes: \"5\" is not a duration such as \"1.5s\"" },
        { "{\"extra\":5}", "extra: 5 is not an object" },
        { "{\"list\":5}", "list: 5 is not a list" },
        { "{\"maybe\":\"q\"}",
          "maybe: \"q\" is not a whole number from -9223372036854775808 to 9223372036854775807" },
        { "{\"data\":\"!!\"}", "data: \"!!\" is not a string in base64" },
        { "{\"paid\":5}", "paid: 5 is not true or false" },
        { "{\"price\":\"much\"}", "price: \"much\" is not a number, \"NaN\", \"Infinity\" or \"-Infinity\"" },
        { "{\"any\":{\"name\":\"x\"}}",
          "any: an Any needs \"@type\", such as \"type.googleapis.com/package.Message\"" },
        { "{\"any\":{\"@type\":\"type.googleapis.com/shop.Nope\"}}",
          "any.@type: the type of \"type.googleapis.com/shop.Nope\" is not known" },
        { "{\"x\\u0000\":1}", "x\\u0000: shop.Order has no such field" HAS },
        { "{\"id\":1,\"id\":2}", "id: it is given twice; leave one out" },
        { "{\"id\":1,\"text\":\"\\\"\",\"i\\u0064\":2}", "i\\u0064: it is given twice; leave one out" },
        { "{\"extra\":{\"a\":[1,{}],\"b\":[{\"c\":1},{\"c\":[{},2],\"c\":2}]}}",
          "extra.b[1].c: it is given twice; leave one out" },
        { "{\"byName\":{\"x\":{\"name\":\"a\"},\"y\":{\"parts\":[{},{\"name\":\"\",\"name\":\"\"}]}}}",
          "byName[\"y\"].parts[1].name: it is given twice; leave one out" },
        { "{\"any\":{\"@type\":\"x/shop.Part\",\"@type\":\"x/shop.Part\"}}",
          "any.@type: it is given twice; leave one out" },
        { "[1]", "[1] is not an object, the fields of shop.Order" },
        { "null", "null is not an object, the fields of shop.Order" },
        { "{\"text\":[\"0123456789012345678901234567890123456789012345678901234567\xc3\xa9\"]}",
          "text: [\"0123456789012345678901234567890123456789012345678901234567... is not a string" },
    };
    schema_t *s = shop();
    ensign_slice_t out;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (schema_from_json(s, ORDER, str(rows[i].json), 0, &out)) fail_msg("%s is taken", rows[i].json);
        check_error(s, rows[i].error);
    }
    assert_false(schema_from_json(s, "shop.Nest", str("{\"nests\":{\"1\":{\"numbers\":[\"z\"]}}}"), 0, &out));
    check_error(s, "nests[\"1\"].numbers[0]: \"z\" is not " INT32);
    schema_free(s);
}

/* What libprotobuf would take, and would understand in a way of its own. */
static void what_the_mapping_does_not_allow_is_refused(void **state)
{
    static const struct {
        const char *json, *error;
    } rows[] = {
        { "{\"paid\":\"yes\"}", "paid: \"yes\" is not true or false" },
        { "{\"paid\":\"true\"}", "paid: \"true\" is not true or false" },
        { "{\"paid\":\"1\"}", "paid: \"1\" is not true or false" },
        { "{\"flags\":{\"yes\":\"a\"}}", "flags, a key: yes is not true or false" },
        { "{\"color\":\"1\"}", "color: \"1\" is not a value of shop.Color: RED, GREEN, LATE" },
        { "{\"colors\":{\"1\":\"1\"}}",
          "colors[\"1\"]: \"1\" is not a value of shop.Color: RED, GREEN, LATE" },
        { "{\"colors\":{\"1\":null}}", "colors[\"1\"]: null is not a value of shop.Color: RED, GREEN, LATE" },
        { "{\"parts\":{}}", "parts: {} is not a list" },
        { "{\"tags\":\"a\"}", "tags: \"a\" is not a list" },
        { "{\"tags\":[\"a\",null]}", "tags[1]: null is not a string" },
        { "{\"text\":\"a\",\"text\":\"b\"}", "text: it is given twice; leave one out" },
        { "{\"byName\":{},\"by_name\":{}}", "by_name: it is given twice; leave one out" },
        { "{\"byName\":{\"a\":{\"parts\":[{},{\"parts\":{}}]}}}",
          "byName[\"a\"].parts[1].parts: {} is not a list" },
        { "{\"at\":{\"seconds\":5}}", "at: {\"seconds\":5} is not a time such as \"2026-01-02T03:04:05Z\"" },
        { "{\"maybe\":{\"value\":5}}",
          "maybe: {\"value\":5} is not a whole number from -9223372036854775808 to 9223372036854775807" },
        { "{\"list\":{}}", "list: {} is not a list" },
        { "{\"any\":{\"@type\":\"x/shop.Part\",\"parts\":{}}}", "any.parts: {} is not a list" },
        { "{\"any\":{\"@type\":\"x/google.protobuf.BoolValue\",\"value\":\"no\"}}",
          "any.value: \"no\" is not true or false" },
        { "{\"text\":\"\\ud800\"}", "text: \"\\ud800\" is not valid Unicode" },
    };
    schema_t *s = shop();
    ensign_slice_t out;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (schema_from_json(s, ORDER, str(rows[i].json), 0, &out)) fail_msg("%s is taken", rows[i].json);
        check_error(s, rows[i].error);
    }
    assert_false(schema_from_json(s, "google.protobuf.BoolValue", str("\"yes\""), 0, &out));
    check_error(s, "\"yes\" is not true or false");
    schema_free(s);
}

/* No file of theirs was added. */
static void types_of_libprotobuf_need_no_file(void **state)
{
    schema_t *s = schema_new();
    ensign_slice_t out;
    char *got;

    (void)state;
    assert_non_null(s);
    assert_true(schema_has(s, "google.protobuf.Timestamp"));
    assert_true(schema_describe(s, "google.protobuf.Timestamp", &out));
    got = text(out);
    assert_string_equal("message Timestamp {\n  int64 seconds = 1;\n  int32 nanos = 2;\n}", got);
    free(got);
    assert_true(schema_template(s, "google.protobuf.Timestamp", false, &out));
    got = text(out);
    assert_string_equal("\"1970-01-01T00:00:00Z\"", got);
    free(got);
    comes_back(s, "google.protobuf.Method", "{\"name\":\"a\",\"syntax\":\"SYNTAX_PROTO3\"}", NULL, 0);
    assert_false(schema_has(s, "google.protobuf.Nope"));
    assert_false(schema_has(s, "shop.Order"));
    schema_free(s);
}

static void proto2_is_understood(void **state)
{
    schema_t *s = shop();
    ensign_slice_t out;

    (void)state;
    assert_false(schema_from_json(s, "shop.old.Item", str("{\"count\":\"x\"}"), 0, &out));
    check_error(s, "count: \"x\" is not a whole number from -2147483648 to 2147483647");
    assert_false(schema_from_json(s, "shop.old.Pair", str("{\"left\":{\"name\":\"a\"},\"right\":{\"q\":1}}"),
                                  0, &out));
    check_error(s, "right.q: shop.old.Item has no such field; it has name, count, lot");
    assert_false(schema_from_json(s, "shop.old.Pair", str("{\"left\":{}}"), 0, &out));
    assert_non_null(strstr(schema_error(s), "name"));
    schema_free(s);
}

/* ---- an Any of a type that is not here */

static void an_unknown_any_is_asked_for_and_given_up(void **state)
{
    /* any { type_url: "x/far.Away" value: 1 byte }, and one inside of a Part that is inside of an Any */
    static const uint8_t plain[] = "\x62\x0f\x0a\x0ax/far.Away\x12\x01\x07";
    static const uint8_t nested[] = "\x62\x26\x0a\x11"
                                    "example/shop.Part"
                                    "\x12\x11\x22\x0f\x0a\x0ax/far.Away\x12\x01\x07";
    ensign_slice_t message = { plain, sizeof plain - 1 }, json;
    schema_t *s = shop();
    char *got;

    (void)state;
    assert_false(schema_to_json(s, ORDER, message, 0, &json));
    assert_string_equal("far.Away", schema_lacks(s));
    schema_give_up(s, schema_lacks(s));
    assert_true(schema_to_json(s, ORDER, message, 0, &json));
    assert_null(schema_lacks(s));
    got = text(json);
    assert_string_equal("{\"any\":{\"@type\":\"x/far.Away\",\"@value\":\"Bw==\"}}", got);
    free(got);
    message.ptr = nested;
    message.len = sizeof nested - 1;
    assert_true(schema_to_json(s, ORDER, message, 0, &json));
    got = text(json);
    assert_string_equal("{\"any\":{\"@type\":\"example/shop.Part\",\"note\":"
                        "{\"@type\":\"x/far.Away\",\"@value\":\"Bw==\"}}}",
                        got);
    free(got);
    assert_false(schema_from_json(s, ORDER, str("{\"any\":{\"@type\":\"x/other.Type\"}}"), 0, &json));
    assert_string_equal("other.Type", schema_lacks(s));
    schema_free(s);
}

/* All in one pass: a server can name thousands. */
static void all_unknown_types_are_told_at_once(void **state)
{
    /* nests, each with an Any: x/a.A, x/b.B, x/a.A once more, and x/c.C inside of a Nest that is in an Any */
    static const uint8_t bytes[] = "\x12\x0b\x08\x01\x12\x07\x0a\x05\x0a\x03x/A"
                                   "\x12\x0b\x08\x02\x12\x07\x0a\x05\x0a\x03x/B"
                                   "\x12\x0b\x08\x03\x12\x07\x0a\x05\x0a\x03x/A"
                                   "\x0a\x16\x0a\x0bx/shop.Nest\x12\x07\x0a\x05\x0a\x03x/C";
    ensign_slice_t message = { bytes, sizeof bytes - 1 }, json;
    schema_t *s = shop();

    (void)state;
    assert_false(schema_to_json(s, "shop.Nest", message, 0, &json));
    for (const char *name = "A"; *name <= 'C'; name = *name == 'A' ? "B" : *name == 'B' ? "C" : "D") {
        assert_string_equal(name, schema_lacks(s));
        schema_give_up(s, schema_lacks(s));
    }
    assert_null(schema_lacks(s));
    if (!schema_to_json(s, "shop.Nest", message, 0, &json)) fail_msg("%s", schema_error(s));
    schema_free(s);
    s = shop();
    assert_false(schema_to_json(s, "shop.Nest", message, 0, &json));
    schema_give_up(s, NULL);
    assert_null(schema_lacks(s));
    if (!schema_to_json(s, "shop.Nest", message, 0, &json)) fail_msg("%s", schema_error(s));
    schema_free(s);
}

static void an_any_without_a_type_is_opaque(void **state)
{
    static const struct {
        const char *bytes;
        size_t      len;
        const char *json;
    } rows[] = {
#define ROW(bytes, json) { bytes, sizeof bytes - 1, json }
        ROW("\x62\x00", "{\"any\":{}}"),
        ROW("\x62\x03\x12\x01\x07", "{\"any\":{\"@type\":\"/\",\"@value\":\"Bw==\"}}"),
        ROW("\x62\x05\x0a\x00\x12\x01\x07", "{\"any\":{\"@type\":\"/\",\"@value\":\"Bw==\"}}"),
        ROW("\x62\x06\x0a\x01/\x12\x01\x07", "{\"any\":{\"@type\":\"/\",\"@value\":\"Bw==\"}}"),
        ROW("\x62\x03\x0a\x01/", "{\"any\":{\"@type\":\"/\"}}"),
        ROW("\x62\x09\x0a\x04x/\x00y\x12\x01\x07",
            "{\"any\":{\"@type\":\"x/\\u0000y\",\"@value\":\"Bw==\"}}"),
    };
    schema_t *s = shop();

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        ensign_slice_t message = { (const uint8_t *)rows[i].bytes, rows[i].len }, json;
        char *got;
        if (!schema_to_json(s, ORDER, message, 0, &json)) fail_msg("row %zu: %s", i, schema_error(s));
        got = text(json);
        assert_string_equal(rows[i].json, got);
        free(got);
    }
    schema_free(s);
}

static void what_is_no_utf8_is_shown_as_such(void **state)
{
    static const uint8_t bytes[] = "\xba\x01\x05""a\xff\xc3\xa9\xe2" /* text */
                                   "\x1a\x07\x0a\x01\xfe\x12\x02\x10\x01" /* byName, a key */
                                   "\x12\x01\xff";                         /* data: bytes stay */
    ensign_slice_t message = { bytes, sizeof bytes - 1 }, json;
    schema_t *s = shop();
    char *got;

    (void)state;
    if (!schema_to_json(s, ORDER, message, 0, &json)) fail_msg("%s", schema_error(s));
    got = text(json);
    assert_string_equal("{\"text\":\"a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\",\"byName\":{\"\xef\xbf\xbd\":"
                        "{\"count\":1}},\"data\":\"/w==\"}",
                        got);
    free(got);
    schema_free(s);
}

/* ---- the details of a status */

static void details_are_known_by_name(void **state)
{
    schema_t *s = shop();
    ensign_slice_t status, json;
    const char *type;
    uint8_t *bytes;
    char *got;

    (void)state;
    assert_true(
        schema_from_json(s, "google.rpc.Status",
                         str("{\"code\":3,\"message\":\"no\",\"details\":["
                             "{\"@type\":\"type.googleapis.com/google.rpc.BadRequest\",\"fieldViolations\":["
                             "{\"field\":\"a\",\"description\":\"b\"}]},"
                             "{\"@type\":\"type.googleapis.com/"
                             "google.rpc.ErrorInfo\",\"reason\":\"R\",\"metadata\":{\"k\":\"v\"}},"
                             "{\"@type\":\"type.googleapis.com/shop.Part\",\"count\":1}]}"),
                         0, &status));
    bytes = (uint8_t *)text(status);
    status.ptr = bytes;
    assert_true(schema_detail(s, status, 0, 0, &type, &json));
    assert_string_equal("type.googleapis.com/google.rpc.BadRequest", type);
    got = text(json);
    assert_string_equal("{\"@type\":\"type.googleapis.com/google.rpc.BadRequest\",\"fieldViolations\":["
                        "{\"field\":\"a\",\"description\":\"b\"}]}",
                        got);
    free(got);
    assert_true(schema_detail(s, status, 1, 0, &type, &json));
    assert_true(schema_detail(s, status, 2, 0, &type, &json));
    assert_string_equal("type.googleapis.com/shop.Part", type);
    assert_false(schema_detail(s, status, 3, 0, &type, &json));
    check_error(s, "");
    free(bytes);
    assert_false(schema_detail(s, str("\x1a\x05x"), 0, 0, &type, &json));
    check_error(s, "the details are not a google.rpc.Status");
    schema_free(s);
}

/* ---- names, text, templates */

static void methods_and_services_are_found(void **state)
{
    schema_t *s = shop();
    schema_method_t m;

    (void)state;
    assert_string_equal("shop.Orders", schema_service(s, 0));
    assert_null(schema_service(s, 1));
    assert_true(schema_method(s, "shop.Orders", "Fill", &m));
    assert_string_equal("/shop.Orders/Fill", m.path);
    assert_string_equal("shop.Order", m.input);
    assert_string_equal("google.protobuf.Empty", m.output);
    assert_true(m.client_streams && !m.server_streams);
    assert_false(schema_method(s, "shop.Orders", "Nope", &m));
    check_error(s, "shop.Orders has no method Nope; it has Put, Watch, Fill, Talk");
    assert_false(schema_method(s, "shop.Nope", "Nope", &m));
    check_error(s, "there is no service shop.Nope");
    assert_true(schema_method_at(s, "shop.Orders", 3, &m));
    assert_string_equal("/shop.Orders/Talk", m.path);
    assert_false(schema_method_at(s, "shop.Orders", 4, &m));
    check_error(s, "");
    schema_free(s);
}

static void a_name_is_described(void **state)
{
    static const struct {
        const char *name, *text;
    } rows[] = {
        { "shop.Orders.Watch", "rpc Watch(.google.protobuf.Empty) returns (stream .shop.Order);" },
        { "shop.Color", "enum Color {\n  RED = 0;\n  GREEN = 1;\n  LATE = -2;\n}" },
        { "shop.Part",
          "message Part {\n  string name = 1;\n  int32 count = 2;\n  repeated .shop.Part parts = 3;\n"
          "  .google.protobuf.Any note = 4;\n}" },
        { "shop.Order.odd_name", "string odd_name = 28 [json_name = \"strange\"];" },
        { "shop.GREEN", "GREEN = 1;" },
        { "shop.Color.GREEN", "GREEN = 1;" },
        { "shop.Color.BLUE", NULL },
        { "shop.Part.GREEN", NULL },
        { "shop.old.color", "extend .shop.old.Item {\n  optional string color = 100;\n}" },
    };
    schema_t *s = shop();
    ensign_slice_t out;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char *got;
        assert_int_equal(rows[i].text != NULL, schema_describe(s, rows[i].name, &out));
        assert_int_equal(rows[i].text != NULL, schema_has(s, rows[i].name));
        if (!rows[i].text) continue;
        got = text(out);
        assert_string_equal(rows[i].text, got);
        free(got);
    }
    schema_free(s);
}

/* libprotobuf takes any bytes as the name that a field has in JSON. */
static void a_json_name_becomes_utf8(void **state)
{
    /* name: "o.proto" message_type { name: "O" field { name: "a" number: 1 optional, string, json_name } } */
    static const uint8_t file[] = "\x0a\x07o.proto\x22\x12\x0a\x01O\x12\x0d\x0a\x01""a"
                                  "\x18\x01\x20\x01\x28\x09\x52\x02\xffz";
    ensign_slice_t bytes = { file, sizeof file - 1 }, json;
    schema_t *s = schema_new();
    char *got;

    (void)state;
    assert_non_null(s);
    if (!schema_add_file(s, bytes) || !schema_link(s)) fail_msg("%s", schema_error(s));
    assert_true(schema_template(s, "O", false, &json));
    got = text(json);
    assert_string_equal("{\"\xef\xbf\xbdz\":\"\"}", got);
    free(got);
    comes_back(s, "O", "{\"a\":\"x\"}", "{\"\xef\xbf\xbdz\":\"x\"}", 0);
    schema_free(s);
}

static void a_template_can_be_sent_as_it_is(void **state)
{
    static const char *const types[] = {
        ORDER,
        "shop.Part",
        "google.protobuf.Struct",
        "google.protobuf.Any",
        "google.protobuf.Timestamp",
        "google.protobuf.FileDescriptorProto",
        "shop.old.Item",
        "shop.old.Pair",
        "shop.Odd",
        "shop.Nest",
    };
    schema_t *s = shop();
    ensign_slice_t json, message;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        for (int pretty = 0; pretty < 2; pretty++) {
            char *got;
            if (!schema_has(s, types[i])) continue;
            assert_true(schema_template(s, types[i], pretty != 0, &json));
            got = text(json);
            if (!schema_from_json(s, types[i], str(got), 0, &message))
                fail_msg("%s: %s: %s", types[i], got, schema_error(s));
            free(got);
        }
    }
    assert_true(schema_template(s, "shop.Part", false, &json));
    {
        char *got = text(json);
        assert_string_equal("{\"name\":\"\",\"count\":0,\"parts\":[],\"note\":{\"@type\":"
                            "\"type.googleapis.com/google.protobuf.Empty\"}}",
                            got);
        free(got);
    }
    assert_true(schema_template(s, "shop.Odd", false, &json));
    {
        char *got = text(json);
        assert_string_equal("{\"a\\\"b\\\\\":\"\",\"\\u001b]0;x\\u0007\":0}", got);
        free(got);
    }
    assert_false(schema_template(s, "shop.Orders", false, &json));
    check_error(s, "there is no message type shop.Orders");
    schema_free(s);
}

/* ---- descriptors that do not fit together */

#define FILE_A                                                                                               \
    "\x0a\x07"                                                                                               \
    "a.proto"
#define FILE_B                                                                                               \
    "\x0a\x07"                                                                                               \
    "b.proto"
#define IMPORT_A                                                                                             \
    "\x1a\x07"                                                                                               \
    "a.proto"
#define IMPORT_B                                                                                             \
    "\x1a\x07"                                                                                               \
    "b.proto"

static void imports_are_asked_for_once(void **state)
{
    schema_t *s = schema_new();

    (void)state;
    assert_true(schema_add_file(s, str(FILE_A IMPORT_B)));
    assert_true(schema_add_file(s, str("\x0a\x07"
                                       "c.proto" IMPORT_B)));
    assert_string_equal("b.proto", schema_import(s));
    assert_null(schema_import(s));
    assert_false(schema_link(s));
    check_error(s, "a.proto imports b.proto, which is not there");
    assert_true(schema_add_file(s, str(FILE_B)));
    assert_true(schema_link(s));
    schema_free(s);
}

static void imports_in_a_circle_are_refused(void **state)
{
    schema_t *s = schema_new();

    (void)state;
    assert_true(schema_add_file(s, str(FILE_A IMPORT_B)));
    assert_true(schema_add_file(s, str(FILE_B IMPORT_A)));
    assert_null(schema_import(s));
    assert_false(schema_link(s));
    assert_non_null(strstr(schema_error(s), "the imports go round in a circle"));
    schema_free(s);
    s = schema_new();
    assert_true(schema_add_file(s, str(FILE_A IMPORT_A)));
    assert_false(schema_link(s));
    check_error(s, "the imports go round in a circle: a.proto imports a.proto");
    schema_free(s);
}

static void a_long_row_of_imports_is_no_danger(void **state)
{
    schema_t *s = schema_new();
    char file[64];

    (void)state;
    for (int i = 0; i < 9000; i++) {
        (void)snprintf(file, sizeof file, "\x0a\x05%05d\x1a\x05%05d", i, i + 1);
        assert_true(schema_add_file(s, str(file)));
    }
    assert_string_equal("09000", schema_import(s));
    assert_true(schema_add_file(s, str("\x0a\x05"
                                       "09000")));
    assert_true(schema_link(s));
    schema_free(s);
    s = schema_new();
    for (int i = 0; i < 10000; i++) {
        (void)snprintf(file, sizeof file, "\x0a\x05%05d", i);
        assert_true(schema_add_file(s, str(file)));
    }
    assert_false(schema_add_file(s, str(FILE_A)));
    check_error(s, "there are more than 10000 files of descriptors");
    schema_free(s);
}

static void a_false_timestamp_is_refused(void **state)
{
    static const char file[] = FILE_A "\x12\x0fgoogle.protobuf\x22\x0b\x0a\x09Timestamp";
    schema_t *s = schema_new();

    (void)state;
    assert_false(schema_add_file(s, str(file)));
    check_error(s, "a.proto: google.protobuf.Timestamp belongs to another file, google/protobuf/");
    schema_free(s);
}

static void what_is_no_descriptor_is_refused(void **state)
{
    schema_t *s = schema_new();

    (void)state;
    assert_false(schema_add_set(s, str("{}")));
    check_error(s, "it is not a FileDescriptorSet, as protoc --descriptor_set_out writes it");
    assert_false(schema_add_set(s, str("")));
    assert_false(schema_add_file(s, str("\x0a\x7fx")));
    check_error(s, "it is not a FileDescriptorProto");
    assert_true(schema_add_file(s, str(FILE_A "\x22\x03\x0a\x01-"))); /* a message with the name - */
    assert_false(schema_link(s));
    check_error(s, "the descriptors are wrong: a.proto: -: \"-\" is not a valid identifier.");
    schema_free(s);
}

/* ---- types without end */

static char *put(char *p, int tag, const char *bytes, size_t len) /* a field of the length below 128 */
{
    *p++ = (char)tag;
    *p++ = (char)len;
    memcpy(p, bytes, len);
    return p + len;
}

/* T00 has eight fields of type T01, and so on: 8^40 of them in all. */
static void a_template_of_types_without_end_ends(void **state)
{
    enum { TYPES = 40, FIELDS = 8 };
    static char file[65536];
    char *p = put(file, 0x0a, "many.proto", 10);
    schema_t *s = schema_new();
    ensign_slice_t json, message, bytes;

    (void)state;
    for (int t = 0; t < TYPES; t++) {
        char type[256], *q = type, name[8], next[8];
        (void)snprintf(name, sizeof name, "T%02d", t);
        (void)snprintf(next, sizeof next, ".T%02d", t + 1);
        q = put(q, 0x0a, name, 3);
        for (int f = 0; f < FIELDS && t + 1 < TYPES; f++) {
            char field[32], *r = field, letter = (char)('a' + f);
            r = put(r, 0x0a, &letter, 1);
            *r++ = 0x18, *r++ = (char)(f + 1); /* number */
            *r++ = 0x20, *r++ = 1;             /* optional */
            *r++ = 0x28, *r++ = 11;            /* a message */
            r = put(r, 0x32, next, 4);
            q = put(q, 0x12, field, (size_t)(r - field));
        }
        *p++ = 0x22;
        *p++ = (char)((q - type) | 0x80);
        *p++ = (char)((q - type) >> 7);
        memcpy(p, type, (size_t)(q - type));
        p += q - type;
    }
    bytes.ptr = (const uint8_t *)file;
    bytes.len = (size_t)(p - file);
    assert_true(schema_add_file(s, bytes));
    if (!schema_link(s)) fail_msg("%s", schema_error(s));
    assert_true(schema_template(s, "T00", false, &json));
    assert_true(json.len > 1000 && json.len < 4u << 20);
    {
        char *got = text(json);
        assert_true(schema_from_json(s, "T00", str(got), 0, &message));
        free(got);
    }
    schema_free(s);
}

/* ---- server reflection */

static void questions_and_answers_of_reflection(void **state)
{
    schema_t *s = schema_new();
    ensign_slice_t q;
    int code;
    char *got;

    (void)state;
    q = schema_question(s, ASK_SYMBOL, "a.B");
    got = text(q);
    assert_string_equal("\x22\x03"
                        "a.B",
                        got);
    free(got);
    q = schema_question(s, ASK_FILE, "a");
    assert_int_equal(0x1a, q.ptr[0]);
    q = schema_question(s, ASK_SERVICES, "");
    assert_int_equal(2, q.len);
    assert_int_equal(0x3a, q.ptr[0]);

    assert_int_equal(ANSWER_FILES, schema_answer(s, str("\x22\x0b\x0a\x09" FILE_A), &code));
    assert_true(schema_link(s));
    assert_int_equal(ANSWER_SERVICES, schema_answer(s,
                                                    str("\x32\x0a\x0a\x03\x0a\x01"
                                                        "A\x0a\x03\x0a\x01"
                                                        "B"),
                                                    &code));
    assert_string_equal("A", schema_service(s, 0));
    assert_string_equal("B", schema_service(s, 1));
    assert_null(schema_service(s, 2));
    assert_int_equal(ANSWER_ERROR, schema_answer(s, str("\x3a\x08\x08\x05\x12\x04gone"), &code));
    assert_int_equal(5, code);
    check_error(s, "gone");
    assert_int_equal(ANSWER_WRONG, schema_answer(s, str(""), &code));
    assert_int_equal(ANSWER_WRONG, schema_answer(s, str("\x22\x03\x0a\x01x"), &code));
    check_error(s, "the server's descriptor is not a FileDescriptorProto");
    schema_free(s);
}

/* ---- mutations: nothing but answers, however many there are */

static uint64_t chance;

static uint32_t draw(uint32_t below)
{
    chance = chance * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(chance >> 33) % below;
}

static ensign_slice_t mutated(ensign_slice_t from, uint8_t *room)
{
    ensign_slice_t out = { room, from.len };

    memcpy(room, from.ptr, from.len);
    for (uint32_t n = 1 + draw(4); n > 0; n--) {
        uint32_t at = draw((uint32_t)out.len);
        switch (draw(4)) {
        case 0:
            room[at] = (uint8_t)draw(256);
            break;
        case 1:
            room[at] = (uint8_t)(room[at] ^ (1u << draw(8)));
            break;
        case 2:
            room[at] = room[draw((uint32_t)out.len)];
            break;
        default:
            room[at] = (uint8_t)(room[at] + 1);
            break;
        }
    }
    if (draw(20) == 0) out.len = 1 + draw((uint32_t)from.len);
    return out;
}

/* All that is asked of a schema, of types that may be there or not. */
static void use(schema_t *s, ensign_slice_t json, ensign_slice_t message)
{
    static const char *const names[] = { ORDER,           "shop.Part",   "shop.old.Item",
                                         "shop.old.Pair", "shop.Orders", "shop.Color" };
    schema_method_t m;
    ensign_slice_t out;
    const char *service, *type;

    for (size_t i = 0; (service = schema_service(s, i)) != NULL; i++)
        for (size_t k = 0; schema_method_at(s, service, k, &m); k++)
            if (schema_template(s, m.input, false, &out)) (void)schema_describe(s, m.output, &out);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        (void)schema_describe(s, names[i], &out);
        (void)schema_template(s, names[i], true, &out);
        (void)schema_from_json(s, names[i], json, 0, &out);
        if (schema_to_json(s, names[i], message, SCHEMA_DEFAULTS, &out) || !schema_lacks(s)) continue;
        schema_give_up(s, schema_lacks(s));
        (void)schema_to_json(s, names[i], message, 0, &out);
    }
    (void)schema_detail(s, message, 0, 0, &type, &out);
}

static uint32_t rounds(uint32_t all)
{
    const char *fewer = getenv("FEWER");
    uint32_t by = fewer ? (uint32_t)atoi(fewer) : 1;

    return by > 1 ? all / by + 1 : all;
}

static const char full[] =
    "{\"id\":\"1\",\"data\":\"AP8=\",\"byName\":{\"a\":{\"count\":1}},\"colors\":{\"1\":\"GREEN\"},\"card\":"
    "\"c\","
    "\"parts\":[{\"name\":\"p\",\"parts\":[{}]}],\"at\":\"2026-01-02T03:04:05Z\",\"takes\":\"1s\","
    "\"extra\":{\"a\":[1,null,true]},\"any\":{\"@type\":\"type.googleapis.com/shop.Part\",\"count\":2},"
    "\"maybe\":\"3\",\"mask\":\"a.b\",\"list\":[1],\"value\":\"v\",\"price\":1.5,\"tags\":[\"t\",\"u\"]}";

static void mutated_descriptors_end_nothing(void **state)
{
    static uint8_t room[65536];
    uint32_t linked = 0, refused = 0;
    schema_t *s = shop();
    ensign_slice_t message;
    uint8_t *bytes;

    (void)state;
    chance = 1;
    assert_true(schema_from_json(s, ORDER, str(full), 0, &message));
    bytes = (uint8_t *)text(message);
    message.ptr = bytes;
    schema_free(s);
    for (uint32_t i = rounds(3000); i > 0; i--) {
        bool ok;
        s = schema_new();
        ok = schema_add_set(s, mutated(set, room));
        while (ok && schema_import(s) != NULL) continue;
        if (ok && schema_link(s))
            linked++;
        else
            refused++;
        use(s, str(full), message); /* what was right is there all the same */
        schema_free(s);
    }
    free(bytes);
    assert_true(linked > 0 && refused > 0);
}

static void mutated_messages_and_json_end_nothing(void **state)
{
    static uint8_t room[65536], more[65536];
    uint32_t taken = 0, refused = 0;
    schema_t *s = shop();
    ensign_slice_t message, out;
    uint8_t *bytes;

    (void)state;
    chance = 2;
    assert_true(schema_from_json(s, ORDER, str(full), 0, &message));
    bytes = (uint8_t *)text(message);
    message.ptr = bytes;
    for (uint32_t i = rounds(6000); i > 0; i--) {
        ensign_slice_t json = mutated(str(full), more);
        int code;
        if (schema_from_json(s, ORDER, json, 0, &out))
            taken++;
        else
            refused++;
        assert_true(schema_error(s) != NULL);
        use(s, json, mutated(message, room));
        (void)schema_answer(s, mutated(message, room), &code);
    }
    free(bytes);
    schema_free(s);
    assert_true(taken > 0 && refused > 0);
}

static void deep_nesting_is_refused(void **state)
{
    enum { DEEP = 20000 };
    schema_t *s = shop();
    char *json = malloc(DEEP * 12 + 1), *p = json;
    uint8_t *message = malloc(DEEP * 4), *q = message + (size_t)DEEP * 4;
    ensign_slice_t bytes, out;

    (void)state;
    assert_non_null(json);
    assert_non_null(message);
    for (int i = 0; i < DEEP; i++) p += sprintf(p, "{\"parts\":[");
    for (int i = 0; i < DEEP; i++) p += sprintf(p, "]}");
    assert_false(schema_from_json(s, "shop.Part", str(json), 0, &out));
    for (size_t len = 0; q - message > 5;) { /* each one in front of what is there, with its tag and length */
        size_t before = len;
        if (len > 0x3FFF) break;
        *--q = (uint8_t)(len > 0x7F ? len >> 7 : len);
        if (len > 0x7F) q[0] = (uint8_t)(len >> 7), *--q = (uint8_t)(len | 0x80);
        *--q = 0x1a; /* parts */
        len = before + (before > 0x7F ? 3 : 2);
    }
    bytes.ptr = q;
    bytes.len = (size_t)(message + (size_t)DEEP * 4 - q);
    assert_false(schema_to_json(s, "shop.Part", bytes, 0, &out));
    free(json);
    free(message);
    schema_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_goes_in_and_out),
        cmocka_unit_test(defaults_and_unknown_fields_are_options),
        cmocka_unit_test(a_wrong_field_is_named_with_its_path),
        cmocka_unit_test(what_the_mapping_does_not_allow_is_refused),
        cmocka_unit_test(types_of_libprotobuf_need_no_file),
        cmocka_unit_test(proto2_is_understood),
        cmocka_unit_test(an_unknown_any_is_asked_for_and_given_up),
        cmocka_unit_test(all_unknown_types_are_told_at_once),
        cmocka_unit_test(an_any_without_a_type_is_opaque),
        cmocka_unit_test(what_is_no_utf8_is_shown_as_such),
        cmocka_unit_test(details_are_known_by_name),
        cmocka_unit_test(methods_and_services_are_found),
        cmocka_unit_test(a_name_is_described),
        cmocka_unit_test(a_json_name_becomes_utf8),
        cmocka_unit_test(a_template_can_be_sent_as_it_is),
        cmocka_unit_test(imports_are_asked_for_once),
        cmocka_unit_test(imports_in_a_circle_are_refused),
        cmocka_unit_test(a_long_row_of_imports_is_no_danger),
        cmocka_unit_test(a_false_timestamp_is_refused),
        cmocka_unit_test(what_is_no_descriptor_is_refused),
        cmocka_unit_test(a_template_of_types_without_end_ends),
        cmocka_unit_test(questions_and_answers_of_reflection),
        cmocka_unit_test(mutated_descriptors_end_nothing),
        cmocka_unit_test(mutated_messages_and_json_end_nothing),
        cmocka_unit_test(deep_nesting_is_refused),
    };

    return cmocka_run_group_tests(tests, read_set, NULL);
}
