/* ensignd_reflection.c - what ensignd answers to server reflection, question by question. The descriptors
 * themselves are compared with proto/ by tests/compile/gen.sh, and read by protoc in tests/e2e/reflection.sh */
#include "../../tools/ensignd/util.c"
#include "../../tools/ensignd/lib.c"
#include "../../tools/common/utf8.c"
#include "../../tools/ensignd/descriptors.c"
#include "../../tools/ensignd/reflection.c"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

/* What the stream did since the last question. */
static struct { buf_t sent; unsigned count; int status; } did;
static call_t call;

void call_send(call_t *c, ensign_slice_t message)
{
    assert_ptr_equal(c, &call);
    buf_take(&did.sent, buf_len(&did.sent));
    buf_put(&did.sent, message.ptr, message.len);
    did.count++;
}

void call_end(call_t *c, int status, const char *text)
{
    (void)text;
    assert_ptr_equal(c, &call);
    did.status = status;
}

static int open_stream(void **state)
{
    (void)state;
    memset(&call, 0, sizeof call);
    memset(&did, 0, sizeof did);
    reflection_open(NULL, &call);
    return 0;
}

static int close_stream(void **state)
{
    (void)state;
    reflection_closed(NULL, &call);
    assert_null(call.state);
    buf_free(&did.sent);
    return 0;
}

/* The one field of this number; empty: there is none. */
static ensign_slice_t field(ensign_slice_t message, uint32_t tag)
{
    ensign_slice_t value = { NULL, 0 };
    size_t at = 0;

    msg_next(message, tag, &at, &value);
    return value;
}

static unsigned count_of(ensign_slice_t message, uint32_t tag)
{
    ensign_slice_t value;
    size_t at = 0;
    unsigned n = 0;

    while (msg_next(message, tag, &at, &value)) n++;
    return n;
}

static ensign_slice_t ask_bytes(const void *request, size_t len)
{
    did.count = 0;
    did.status = -1;
    reflection_message(NULL, &call, slice_of(request, len));
    return buf_bytes(&did.sent);
}

/* One question, which the answer repeats. The answer has one part: returned is that of number `want`. */
static ensign_slice_t ask(uint32_t kind, const char *text, uint32_t want)
{
    buf_t request = { NULL, 0, 0, 0 };
    ensign_slice_t answer, part;

    msg_put_field(&request, kind, slice_text(text));
    answer = ask_bytes(request.ptr, buf_len(&request));
    assert_int_equal(did.count, 1);
    assert_int_equal(did.status, -1);
    assert_true(slice_eq(field(answer, ANSWER_REQUEST), buf_bytes(&request)));
    for (uint32_t tag = ANSWER_FILES; tag <= ANSWER_ERROR; tag++)
        assert_int_equal(count_of(answer, tag), tag == want);
    buf_free(&request);
    part = field(answer, want);
    return part;
}

static void is_not_found(uint32_t kind, const char *text, const char *words)
{
    ensign_slice_t error = ask(kind, text, ANSWER_ERROR);

    assert_true(error.len > 2 && error.ptr[0] == 8 && error.ptr[1] == GRPC_NOT_FOUND);
    assert_true(slice_is(field(error, ERROR_TEXT), words));
}

/* The name of the first file of an answer. */
static bool first_is(ensign_slice_t files, const char *name)
{
    return slice_is(field(field(files, FIRST_FIELD), 1), name);
}

static void services_are_listed(void **state)
{
    static const char *const names[] = { "ensign.v1beta1.Ensign", "ensignd.v1.Groups", "grpc.health.v1.Health",
                                         "grpc.reflection.v1.ServerReflection",
                                         "grpc.reflection.v1alpha.ServerReflection" };
    ensign_slice_t list = ask(REQUEST_SERVICES, "*", ANSWER_SERVICES), service;
    size_t at = 0, n = 0;
    (void)state;

    for (; msg_next(list, FIRST_FIELD, &at, &service); n++) {
        assert_true(n < 5);
        assert_true(slice_is(field(service, FIRST_FIELD), names[n]));
    }
    assert_int_equal(n, 5);
    assert_int_equal(count_of(ask(REQUEST_SERVICES, "", ANSWER_SERVICES), FIRST_FIELD), 5);
}

/* In order, so that the search finds each; and each leads to a file that is there. */
static void every_symbol_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < described_symbol_count; i++) {
        const described_symbol_t *symbol = &described_symbols[i];
        if (i > 0) assert_true(strcmp(described_symbols[i - 1].name, symbol->name) < 0);
        assert_ptr_equal(find_symbol(slice_text(symbol->name)), symbol);
        assert_true(symbol->file < described_file_count);
        assert_true(first_is(ask(REQUEST_SYMBOL, symbol->name, ANSWER_FILES),
                             described_files[symbol->file].name));
    }
}

static void each_kind_of_symbol_is_known(void **state)
{
    static const char ensign[] = "api/v1beta1/ensign.proto", health[] = "grpc/health/v1/health.proto",
                      event[] = "api/v1beta1/event.proto", query[] = "api/v1beta1/query.proto";
    static const struct { const char *symbol, *file; } known[] = {
        { "ensign.v1beta1.Ensign", ensign }, { "ensign.v1beta1.Ensign.Publish", ensign },
        { "grpc.health.v1.Health.Check", health }, { "grpc.health.v1.HealthCheckResponse", health },
        { "grpc.health.v1.HealthCheckResponse.status", health },
        { "grpc.health.v1.HealthCheckResponse.ServingStatus", health },         /* nested */
        { "grpc.health.v1.HealthCheckResponse.NOT_SERVING", health },           /* a value, beside its enum */
        { "ensign.v1beta1.Event.MetadataEntry", event },                        /* of a map */
        { "ensign.v1beta1.Event.MetadataEntry.value", event },
        { "ensign.v1beta1.Parameter._i", query },                               /* of `optional` */
        { "mimetype.v1beta1.MIME", "mimetype/v1beta1/mimetype.proto" },
        { "google.protobuf.Timestamp.nanos", "google/protobuf/timestamp.proto" },
        { "grpc.reflection.v1.ServerReflectionRequest.message_request",         /* a oneof */
          "grpc/reflection/v1/reflection.proto" },
    };
    (void)state;

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_true(first_is(ask(REQUEST_SYMBOL, known[i].symbol, ANSWER_FILES), known[i].file));
}

static void a_file_brings_what_it_imports_once(void **state)
{
    ensign_slice_t files;
    (void)state;

    files = ask(REQUEST_FILE, "api/v1beta1/query.proto", ANSWER_FILES);
    assert_int_equal(count_of(files, FIRST_FIELD), 1);
    files = ask(REQUEST_FILE, "api/v1beta1/event.proto", ANSWER_FILES);
    assert_int_equal(count_of(files, FIRST_FIELD), 4);  /* and timestamp, mimetype, region */
    files = ask(REQUEST_FILE, "api/v1beta1/ensign.proto", ANSWER_FILES);
    assert_int_equal(count_of(files, FIRST_FIELD), 4);  /* and groups, topic, duration */
    assert_true(first_is(files, "api/v1beta1/ensign.proto"));
    files = ask(REQUEST_FILE, "api/v1beta1/event.proto", ANSWER_FILES);
    assert_int_equal(count_of(files, FIRST_FIELD), 1);  /* asked for again, it comes again */
}

static void what_is_not_there_is_an_answer(void **state)
{
    (void)state;
    is_not_found(REQUEST_FILE, "ensign.proto", "there is no file \"ensign.proto\"");
    is_not_found(REQUEST_FILE, "", "there is no file \"\"");
    is_not_found(REQUEST_SYMBOL, "ensign.v1beta1.Ensig", "there is no symbol \"ensign.v1beta1.Ensig\"");
    is_not_found(REQUEST_SYMBOL, "ensign.v1beta1", "there is no symbol \"ensign.v1beta1\"");
    is_not_found(REQUEST_SYMBOL, "\xc3\xbc", "there is no symbol \"\xc3\xbc\"");
    is_not_found(REQUEST_EXTENSION, "\x0a\x05" "a.b.C\x10\x07", "there is no extension of \"a.b.C\"");
    is_not_found(REQUEST_EXTENSIONS_OF, "a.b.C", "there is no message \"a.b.C\"");
    is_not_found(REQUEST_EXTENSIONS_OF, "ensign.v1beta1.Ensign",
                 "there is no message \"ensign.v1beta1.Ensign\"");
}

static void a_message_has_no_extensions(void **state)
{
    ensign_slice_t part = ask(REQUEST_EXTENSIONS_OF, "ensign.v1beta1.Event", ANSWER_EXTENSIONS);
    (void)state;

    assert_true(slice_is(field(part, FIRST_FIELD), "ensign.v1beta1.Event"));
    assert_int_equal(count_of(part, 2), 0);
}

static void the_host_comes_back_and_the_last_question_counts(void **state)
{
    static const char request[] = "\x0a\x01h" "\x1a\x01x" "\x3a\x01*" "\x08\x05"; /* and host as a number */
    ensign_slice_t answer = ask_bytes(request, sizeof request - 1);
    (void)state;

    assert_int_equal(did.count, 1);
    assert_true(slice_is(field(answer, ANSWER_HOST), "h"));
    assert_true(slice_eq(field(answer, ANSWER_REQUEST), slice_of(request, sizeof request - 1)));
    assert_int_equal(count_of(answer, ANSWER_SERVICES), 1);
    assert_int_equal(count_of(answer, ANSWER_ERROR), 0);
}

static void bad_requests_end_the_stream(void **state)
{
    static const struct { const char *bytes; size_t len; int status; } bad[] = {
        { "", 0, GRPC_INVALID_ARGUMENT },
        { "\x0a\x01h", 3, GRPC_INVALID_ARGUMENT },              /* a host alone */
        { "\x12\x01x", 3, GRPC_INVALID_ARGUMENT },              /* a field that is unknown */
        { "\x18\x01", 2, GRPC_INVALID_ARGUMENT },               /* a file's name as a number */
        { "\x1a\x05x", 3, GRPC_INTERNAL },                      /* cut */
        { "\x1a", 1, GRPC_INTERNAL },
        { "\x1a\x01\xff", 3, GRPC_INTERNAL },                   /* no UTF-8 */
        { "\x0a\x01\xff\x3a\x01*", 6, GRPC_INTERNAL },
        { "\x2a\x02\x0a\x05", 4, GRPC_INTERNAL },               /* cut, inside the extension */
        { "\x00\x01", 2, GRPC_INTERNAL },                       /* a field 0 */
    };
    (void)state;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ask_bytes(bad[i].bytes, bad[i].len);
        assert_int_equal(did.count, 0);
        assert_int_equal(did.status, bad[i].status);
    }
}

static void a_client_that_does_not_read_is_bounded(void **state)
{
    (void)state;
    assert_int_equal(call.in_max, REQUEST_MAX);
    assert_int_equal(call.out_max, ANSWERS_MAX);
}

static void half_close_ends_the_stream_well(void **state)
{
    (void)state;
    did.status = -1;
    reflection_half_close(NULL, &call);
    assert_int_equal(did.status, GRPC_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_stream, close_stream)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(services_are_listed),
        TEST(every_symbol_is_found),
        TEST(each_kind_of_symbol_is_known),
        TEST(a_file_brings_what_it_imports_once),
        TEST(what_is_not_there_is_an_answer),
        TEST(a_message_has_no_extensions),
        TEST(the_host_comes_back_and_the_last_question_counts),
        TEST(bad_requests_end_the_stream),
        TEST(a_client_that_does_not_read_is_bounded),
        TEST(half_close_ends_the_stream_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
