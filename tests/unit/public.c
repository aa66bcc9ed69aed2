/* public.c - the public half: what it says of ranges, sizes and ends is what the code does */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"

static ensign_desc_t desc(void)
{
    ensign_desc_t d;
    memset(&d, 0, sizeof d);
    d.endpoint = "127.0.0.1:1"; /* nobody is asked: no test here steps a socket */
    d.tls.off = true;
    return d;
}

static ensign_t *client(const ensign_desc_t *d)
{
    ensign_t *c;
    ensign_error_t why;
    assert_int_equal(ensign_create(d, &c, &why), ENSIGN_OK);
    return c;
}

static void created(const ensign_desc_t *d, int rc)
{
    ensign_t *c;
    ensign_error_t why;
    assert_int_equal(ensign_create(d, &c, &why), rc);
    if (rc != ENSIGN_OK) {
        assert_null(c);
        assert_int_equal(why.code, rc);
        assert_true(strncmp(why.text, "client: ", 8) == 0);
    }
    ensign_destroy(c);
}

static void ranges_of_the_client_are_those_written(void **state)
{
    char text[600];
    ensign_desc_t d = desc();
    (void)state;
    memset(text, 'x', sizeof text);
#define EDGE(field, in, out)                                                                                 \
    d = desc(), d.field = (in), created(&d, ENSIGN_OK), d.field = (out), created(&d, ENSIGN_E_ARGUMENT)
#define LENGTH(field, in)                                                                                    \
    d = desc(), d.field = text, text[in] = '\0', created(&d, ENSIGN_OK), text[in] = 'x',                     \
    text[(in) + 1] = '\0', created(&d, ENSIGN_E_ARGUMENT), text[(in) + 1] = 'x'
    EDGE(max_handles, 1, 65001);
    EDGE(max_handles, 65000, 65001);
    EDGE(connection_window, 65535, 65534);
    EDGE(connection_window, 2147483647, 2147483648u);
    EDGE(keepalive_ms, 1000, 999);
    EDGE(backoff_max_ms, 100, 99); /* under backoff_min_ms */
    EDGE(topic_cache, 1, 4097);
    EDGE(topic_cache, 4096, UINT32_MAX - 1);
    EDGE(topic_cache, ENSIGN_OFF, 65536);
    EDGE(max_header_bytes, 4096, 4095);
    EDGE(max_header_bytes, 65536, 65537);
    EDGE(max_answer_bytes, 1024, 1023);
    EDGE(max_answer_bytes, 1u << 30, (1u << 30) + 1);
    EDGE(io, ENSIGN_IO_CALLER, ENSIGN_IO_CALLER + 1);
    EDGE(endpoint, "127.0.0.1:65535", "127.0.0.1:65536");
    EDGE(endpoint, "[::1]:1", "::1:1");
    EDGE(endpoint, "a:1", "a:0");
    LENGTH(authority, 255);
    LENGTH(name, 512);
    LENGTH(user_agent, 100);
#undef EDGE
#undef LENGTH
}

/* A desc that can be opened with the field at `in`, and cannot with it at `out`. */
#define EDGE(kind, field, in, out)                                                                           \
    do {                                                                                                     \
        ensign_##kind##_desc_t x_ = plain_##kind();                                                          \
        x_.field = (in);                                                                                     \
        if (ensign_##kind##_open(c, &x_).id == 0) fail_msg("%s of a %s: %s is refused", #field, #kind, #in); \
        x_.field = (out);                                                                                    \
        if (ensign_##kind##_open(c, &x_).id != 0) fail_msg("%s of a %s: %s is taken", #field, #kind, #out);  \
        assert_int_equal(ensign_error(c)->code, ENSIGN_E_ARGUMENT);                                          \
    } while (0)

static ensign_call_desc_t plain_call(void)
{
    ensign_call_desc_t d;
    memset(&d, 0, sizeof d);
    d.method = "/a.B/C";
    return d;
}

static ensign_publisher_desc_t plain_publisher(void)
{
    ensign_publisher_desc_t d;
    memset(&d, 0, sizeof d);
    return d;
}

static ensign_subscription_desc_t plain_subscription(void)
{
    ensign_subscription_desc_t d;
    memset(&d, 0, sizeof d);
    return d;
}

static void ranges_of_a_call_are_those_written(void **state)
{
    static const ensign_header_t many[129];
    ensign_desc_t d = desc();
    ensign_t *c = client(&d);
    ensign_call_desc_t k;
    (void)state;
    EDGE(call, method, "/a/b", "/a");
    EDGE(call, window_bytes, 1024, 1023);
    EDGE(call, window_bytes, 1u << 30, (1u << 30) + 1);
    EDGE(call, max_message_bytes, 1u << 30, (1u << 30) + 1);
    EDGE(call, max_send_bytes, 1u << 30, (1u << 30) + 1);
    k = plain_call();
    k.metadata = many;
    k.metadata_count = 129;
    assert_int_equal(ensign_call_open(c, &k).id, 0);
    assert_non_null(strstr(ensign_error(c)->text, "128 are allowed"));
    ensign_destroy(c);
}

static void ranges_of_streams_are_those_written(void **state)
{
    ensign_desc_t d = desc();
    ensign_t *c = client(&d);
    (void)state;
    EDGE(publisher, buffer_bytes, 1024, 1023);
    EDGE(publisher, window_bytes, 1024, 1023);
    EDGE(publisher, window_bytes, 1u << 30, (1u << 30) + 1);
    EDGE(publisher, max_reply_bytes, 1024, 1023);
    EDGE(publisher, max_reply_bytes, 1u << 30, (1u << 30) + 1);
    EDGE(publisher, max_event_bytes, 1024, 1023);
    EDGE(publisher, max_event_bytes, 4u << 20, (4u << 20) + 1);
    EDGE(publisher, max_in_flight, 1, 16384);
    EDGE(publisher, max_in_flight, 16383, 16384);
    EDGE(subscription, window_bytes, 1024, 1023);
    EDGE(subscription, window_bytes, 1u << 30, (1u << 30) + 1);
    EDGE(subscription, max_event_bytes, 1024, 1023);
    EDGE(subscription, max_event_bytes, 1u << 30, (1u << 30) + 1);
    EDGE(subscription, max_unacked, 16777216, 16777217);
    ensign_destroy(c);
}

/* A bound is asked for before anything is checked: it reads no member of the union that may not be there. */
static void bounds_take_any_parameter(void **state)
{
    ensign_query_desc_t q;
    ensign_subscription_desc_t s;
    ensign_param_t x;
    (void)state;
    memset(&q, 0, sizeof q);
    memset(&s, 0, sizeof s);
    memset(&x, 0, sizeof x);
    x.name = "a";
    x.as.i = 1;
    q.sql = s.query = "SELECT * FROM weather";
    q.params = s.params = &x;
    q.param_count = s.param_count = 1;
    for (x.type = -1; x.type < 9; x.type++) {
        if (x.type == ENSIGN_PARAM_STRING || x.type == ENSIGN_PARAM_BYTES) continue;
        assert_true(ensign_query_memory_bound(&q) > 0);
        assert_true(ensign_subscription_memory_bound(&s) > 0);
    }
}

/* The figures of MEMORY in the manual. */
static void sizes_are_those_written(void **state)
{
    static const ensign_publisher_desc_t p;
    static const ensign_subscription_desc_t s;
    static const ensign_call_desc_t k;
    static const ensign_query_desc_t q;
    const size_t mib = 1024 * 1024;
    ensign_desc_t d;
    (void)state;
    memset(&d, 0, sizeof d);
    d.client_id = d.client_secret = "of-usual-length-0123456789abcdef";
    assert_in_range(ensign_memory_bound(&d), mib, 2 * mib);
    assert_in_range(ensign_call_memory_bound(&k), 12 * mib, 13 * mib);
    assert_in_range(ensign_publisher_memory_bound(&p), 9 * mib, 10 * mib);
    assert_in_range(ensign_subscription_memory_bound(&s), 30 * mib, 31 * mib);
    assert_in_range(ensign_request_memory_bound(&d), 16 * mib, 17 * mib);
    assert_in_range(ensign_query_memory_bound(&q), 10 * mib, 11 * mib);
    assert_int_equal(sizeof(ensi_entry_t), 40);
    assert_int_equal(sizeof(ensi_ack_slot_t), 16);
    assert_int_equal(ENSI_SERVER_MESSAGE_MAX, 4 * mib);
}

/* A name of 512 bytes and an id, both from a number. */
static void remember(ensign_t *c, uint32_t n)
{
    char name[512];
    uint8_t id[16] = { 0 };
    memset(name, 'n', sizeof name);
    for (int i = 0; i < 8; i++) {
        name[i] = (char)('a' + (n >> 4 * i & 15));
        id[i] = (uint8_t)name[i];
    }
    ensi_cache_put(&c->cache, &c->env.mem, ensi_slice(name, sizeof name), id, true);
}

static size_t memory_of(const ensign_t *c)
{
    ensign_stats_t stats;
    assert_int_equal(ensign_stats(c, ENSIGN_CLIENT, &stats), ENSIGN_OK);
    return stats.memory;
}

/* topic_cache bounds the topics that are remembered, and what the bound of the client says of them. */
static void a_full_topic_cache_stays_under_the_bound(void **state)
{
    static const struct { uint32_t field, topics; } rows[] = {
        { ENSIGN_OFF, 0 }, { 1, 1 }, { 2, 2 }, { 255, 255 }, { 0, 256 }, { 4096, 4096 } };
    const size_t list = ENSI_MEM_SMALL + ENSI_MEM_HEADER;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ensign_desc_t d = desc(), off = desc();
        ensign_t *c;
        size_t empty, full;
        d.topic_cache = rows[i].field;
        off.topic_cache = ENSIGN_OFF;
        c = client(&d);
        empty = memory_of(c);
        for (uint32_t n = 0; n <= rows[i].topics; n++) remember(c, n); /* one more than there is room for */
        full = memory_of(c);
        assert_int_equal(c->cache.count, rows[i].topics);
        assert_true(full <= ensign_memory_bound(&d));
        /* what the bound has for topics holds them, but for what rounds the one block that lists them */
        assert_true(full - empty <= ensign_memory_bound(&d) - ensign_memory_bound(&off) + list);
        assert_true(full - empty >= (size_t)rows[i].topics * (512 + 16)); /* names and ids are really there */
        if (rows[i].field == ENSIGN_OFF) assert_int_equal(full, empty);
        ensign_destroy(c);
    }
}

/* It is what it grows by, for each of its topics as much; 0 is 256. */
static void the_bound_grows_with_the_topic_cache(void **state)
{
    ensign_desc_t d = desc();
    size_t none, one, two, usual, most;
    (void)state;
#define BOUND(n) (d.topic_cache = (n), ensign_memory_bound(&d))
    none = BOUND(ENSIGN_OFF);
    one = BOUND(1);
    two = BOUND(2);
    usual = BOUND(256);
    most = BOUND(4096);
    assert_int_equal(BOUND(0), usual);
#undef BOUND
    assert_true(one - none >= 512 + 16);
    assert_int_equal(two - one, one - none);
    assert_int_equal(usual - none, 256 * (one - none));
    assert_int_equal(most - none, 4096 * (one - none));
}

static void an_error_text_is_one_line(void **state)
{
    ensign_error_t e;
    (void)state;
    ensi_fail(&e, ENSIGN_E_UNKNOWN, 0, "grpc: %s", "a\nb\033[2Jc\177\303\251");
    assert_string_equal(e.text, "grpc: a b [2Jc \303\251");
    ensi_fail(&e, ENSIGN_E_UNKNOWN, 0, "grpc: %s", "\302\2332J\302\240\302"); /* C1 as UTF-8 has it */
    assert_string_equal(e.text, "grpc:   2J\302\240\302");
}

/* It waited for ever: a handle that has given its last notice still stands, but nothing comes of it. */
static void await_of_an_ended_handle_is_refused(void **state)
{
    ensign_desc_t d = desc();
    ensign_t *c = client(&d);
    const ensign_notice_t *n;
    ensign_call_desc_t k;
    ensign_call_t call;
    (void)state;
    memset(&k, 0, sizeof k);
    k.method = "/a.B/C";
    call = ensign_call_open(c, &k);
    assert_int_equal(ensign_cancel(c, call.id), ENSIGN_OK);
    assert_int_equal(ensign_await(c, call.id, -1, &n), ENSIGN_OK);
    assert_true(n->last);
    assert_int_equal(ensign_await(c, call.id, 0, &n), ENSIGN_E_HANDLE);
    assert_null(n);
    ensign_destroy(c);
}

/* It said OK, and CLOSED never came. */
static void close_of_a_failed_client_ends_in_closed(void **state)
{
    ensign_desc_t d = desc();
    const ensign_notice_t *n;
    ensign_link_t link;
    ensign_t *c;
    bool failed = false;
    (void)state;
    d.io = ENSIGN_IO_CALLER;
    d.give_up_after_ms = 10;
    c = client(&d);
    assert_int_equal(ensign_tick(c, 1), ENSIGN_OK);
    ensign_link(c, ENSIGN_LINK_RPC, &link);
    assert_int_equal(link.todo, ENSIGN_LINK_DIAL);
    assert_int_equal(ensign_link_down(c, ENSIGN_LINK_RPC, link.attempt, 1, 2), ENSIGN_OK);
    assert_int_equal(ensign_tick(c, 3), ENSIGN_OK);
    assert_int_equal(ensign_tick(c, 100), ENSIGN_OK);
    while ((n = ensign_next(c)) != NULL) failed |= n->type == ENSIGN_NOTICE_FAILED;
    assert_true(failed);
    assert_int_equal(ensign_close(c, ENSIGN_CLIENT, 0), ENSIGN_OK);
    assert_int_equal(ensign_tick(c, 101), ENSIGN_OK);
    n = ensign_next(c);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_CLOSED);
    assert_int_equal(ensign_close(c, ENSIGN_CLIENT, 0), ENSIGN_OK); /* it was closed: nothing more comes */
    assert_int_equal(ensign_tick(c, 102), ENSIGN_OK);
    assert_null(ensign_next(c));
    ensign_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_of_the_client_are_those_written),
        cmocka_unit_test(ranges_of_a_call_are_those_written),
        cmocka_unit_test(ranges_of_streams_are_those_written),
        cmocka_unit_test(bounds_take_any_parameter),
        cmocka_unit_test(sizes_are_those_written),
        cmocka_unit_test(a_full_topic_cache_stays_under_the_bound),
        cmocka_unit_test(the_bound_grows_with_the_topic_cache),
        cmocka_unit_test(an_error_text_is_one_line),
        cmocka_unit_test(await_of_an_ended_handle_is_refused),
        cmocka_unit_test(close_of_a_failed_client_ends_in_closed),
    };
    return cmocka_run_group_tests_name("public", tests, NULL, NULL);
}
