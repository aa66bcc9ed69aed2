/* req.c - requests: pages that end and pages that do not, records that are none, time */
#include "bare.h"

static ensign_desc_t desc(uint32_t max_answer_bytes)
{
    ensign_desc_t d = bare_desc();
    d.request_timeout_ms = 1000;
    d.max_answer_bytes = max_answer_bytes;
    return d;
}

static int setup(void **state)
{
    ensign_desc_t d = desc(0);
    (void)state;
    return bare_setup(&d);
}

/* Another client, whose desc has this. */
static void begin_again(uint32_t max_answer_bytes)
{
    ensign_desc_t d = desc(max_answer_bytes);
    ensign_destroy(client);
    assert_int_equal(ensign_create(&d, &client, NULL), ENSIGN_OK);
}

static ensi_req_t *req_of(ensign_request_t r)
{
    assert_int_not_equal(r.id, 0);
    return (ensi_req_t *)(void *)ensi_handle_find(&client->handles, r.id);
}

/* The call goes out. */
static void submit(ensi_req_t *q)
{
    bare_submit(&q->ask.call);
    ensi_req_serve(client, &q->h);
}

/* A message of so many bytes begins: the buffer can make room for it. */
static void say_length(ensi_req_t *q, size_t len)
{
    bare_prefix(&q->ask.call, len);
    ensi_req_serve(client, &q->h);
}

static void say(ensi_req_t *q, const uint8_t *bytes, size_t len)
{
    say_length(q, len);
    bare_store(&q->ask.call, bytes, len);
    ensi_req_serve(client, &q->h);
}

static void finish(ensi_req_t *q, int status)
{
    bare_end(&q->ask.call, status);
    ensi_req_serve(client, &q->h);
}

/* The server answers the running call with this message and OK. */
static void answer(ensi_req_t *q, const uint8_t *bytes, size_t len)
{
    submit(q);
    say(q, bytes, len);
    finish(q, ENSIGN_GRPC_OK);
}

static uint8_t *put_topic(uint8_t *p, const char *name)
{
    uint8_t topic[700], *at = ensi_pb_put_bytes(topic, 1, ensi_slice("0123456789abcdef", 16));
    at = ensi_pb_put_bytes(at, 3, ensign_str(name));
    return ensi_pb_put_bytes(p, 1, ensi_slice(topic, (size_t)(at - topic)));
}

static uint8_t *put_token(uint8_t *p, const char *token)
{
    return ensi_pb_put_bytes(p, 2, ensign_str(token));
}

static void page(ensi_req_t *q, const char *a, const char *b, const char *token)
{
    uint8_t bytes[2048], *p = bytes;
    if (a) p = put_topic(p, a);
    if (b) p = put_topic(p, b);
    if (token) p = put_token(p, token);
    answer(q, bytes, (size_t)(p - bytes));
}

static void tick(ensi_req_t *q, uint32_t ms)
{
    bare_pass(&q->h, ms);
    ensi_req_serve(client, &q->h);
}

static const ensign_notice_t *next(ensi_req_t *q)
{
    return ensign_next_of(client, q->h.id);
}

static const ensign_notice_t *expect_topic(ensi_req_t *q, const char *name)
{
    const ensign_notice_t *n = next(q);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_TOPIC);
    assert_true(ensi_slice_is(n->as.topic->name, name));
    ensi_req_serve(client, &q->h);
    return n;
}

static const ensign_notice_t *expect_end(ensi_req_t *q, int code)
{
    const ensign_notice_t *n = next(q);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_END);
    assert_int_equal(n->error ? n->error->code : 0, code);
    return n;
}

static void a_topic_stands_while_the_next_page_comes(void **state)
{
    static char long_name[600];
    ensi_req_t *q = req_of(ensign_topic_list(client, NULL));
    const ensign_notice_t *n;
    (void)state;
    memset(long_name, 'x', sizeof long_name - 1);
    page(q, "a", "b", "1");
    expect_topic(q, "a");
    n = expect_topic(q, "b");
    for (int i = 0; i < 40; i++) { /* pages without a topic, until a buffer is full */
        page(q, NULL, NULL, "2");
        assert_true(ensi_slice_is(n->as.topic->name, "b"));
    }
    page(q, long_name, "c", NULL);
    assert_true(ensi_slice_is(n->as.topic->name, "b"));
    expect_topic(q, long_name);
    expect_topic(q, "c");
    assert_int_equal(expect_end(q, 0)->as.end.count, 4);
}

/* Records that are no Topic make no notice, and take nothing from the one that stands. */
static void records_that_are_no_topic_are_left_out(void **state)
{
    uint8_t bytes[256], *p = bytes;
    ensi_req_t *q = req_of(ensign_topic_list(client, NULL));
    const ensign_notice_t *n;
    (void)state;
    page(q, "a", NULL, "1");
    n = expect_topic(q, "a");
    p = ensi_pb_put_bytes(p, 1, ensi_slice("\x0a\x03" "bad", 5)); /* an id of 3 bytes */
    p = ensi_pb_put_bytes(p, 1, ensi_slice("\x0a\x7f", 2));
    p = put_token(p, "2");
    answer(q, bytes, (size_t)(p - bytes));
    assert_false(ensi_req_has(&q->h));
    assert_null(next(q));
    assert_true(ensi_slice_is(n->as.topic->name, "a"));
    p = ensi_pb_put_bytes(bytes, 1, ensi_slice(NULL, 0));
    p = put_topic(p, "b");
    answer(q, bytes, (size_t)(p - bytes));
    expect_topic(q, "b");
    assert_int_equal(expect_end(q, 0)->as.end.count, 2);
}

/* The time counts for the server, not for the reader; and it counts for each page. */
static void the_time_to_read_a_page_is_the_users(void **state)
{
    ensi_req_t *q = req_of(ensign_topic_list(client, NULL));
    (void)state;
    tick(q, 900);
    page(q, "a", "b", "1");
    expect_topic(q, "a");
    tick(q, 5000);
    assert_int_equal(ensi_req_due(&q->h), UINT64_MAX);
    expect_topic(q, "b");
    tick(q, 900);
    page(q, "c", NULL, "2");
    expect_topic(q, "c");
    tick(q, 999);
    assert_null(next(q));
    tick(q, 1); /* the third page does not come */
    expect_end(q, ENSIGN_E_DEADLINE_EXCEEDED);
}

static void pages_without_an_end_are_ended(void **state)
{
    ensi_req_t *list = req_of(ensign_topic_list(client, NULL)), *find;
    (void)state;
    page(list, "a", NULL, "more");
    expect_topic(list, "a");
    for (int i = 0; i < ENSI_REQ_PAGES_MAX; i++) page(list, NULL, NULL, "more");
    assert_non_null(strstr(expect_end(list, ENSIGN_E_PROTOCOL)->error->text, "10000 pages"));
    find = req_of(ensign_topic_by_name(client, "wanted", NULL));
    for (int i = 0; i < ENSI_REQ_PAGES_MAX; i++) page(find, "other", NULL, "more");
    expect_end(find, ENSIGN_E_PROTOCOL);
}

static void a_token_that_is_too_long_ends_the_request(void **state)
{
    static char token[ENSI_REQ_TOKEN + 2];
    ensi_req_t *q = req_of(ensign_topic_by_name(client, "wanted", NULL));
    (void)state;
    memset(token, 't', sizeof token - 2);
    page(q, NULL, NULL, token);
    assert_int_equal(q->ask.call.state, ENSI_GRPC_QUEUED); /* 1024 bytes are asked for as they came */
    token[sizeof token - 2] = 't';
    page(q, NULL, NULL, token);
    expect_end(q, ENSIGN_E_INTERNAL);
}

static void uptime_is_bounded(void **state)
{
    static const uint8_t huge[] = { 0x08, 1,    0x1A, 10,   0x08, 0xFF, 0xFF,
                                    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F };
    static const uint8_t good[] = { 0x08, 1, 0x1A, 2, 0x08, 9 };
    /* minus a quarter of an hour in nanoseconds, or so */
    static const uint8_t back[] = { 0x08, 1,    0x1A, 13,   0x08, 9,    0x10, 0x80, 0x80,
                                    0x80, 0x80, 0x88, 0xFE, 0xFF, 0xFF, 0xFF, 0x01 };
    ensi_req_t *q = req_of(ensign_status(client, NULL));
    const ensign_notice_t *n;
    (void)state;
    answer(q, huge, sizeof huge);
    n = next(q);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_STATUS);
    assert_int_equal(n->as.status.uptime_ms, 0);
    q = req_of(ensign_status(client, NULL));
    answer(q, back, sizeof back);
    n = next(q);
    assert_non_null(n);
    assert_int_equal(n->as.status.uptime_ms, 9000);
    q = req_of(ensign_status(client, NULL));
    answer(q, good, sizeof good);
    n = next(q);
    assert_non_null(n);
    assert_int_equal(n->as.status.uptime_ms, 9000);
}

/* CLOSED comes behind an answer that waits; nothing else would make the loop step after that pull. */
static void closing_steps_after_the_last_answer(void **state)
{
    static const uint8_t good[] = { 0x08, 1 };
    ensi_req_t *q = req_of(ensign_status(client, NULL));
    const ensign_notice_t *n;
    (void)state;
    answer(q, good, sizeof good);
    assert_int_equal(ensign_close(client, ENSIGN_CLIENT, ENSIGN_FOREVER), ENSIGN_OK);
    assert_int_equal(ensign_tick(client, 1), ENSIGN_OK);
    n = ensign_next(client);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_STATUS);
    assert_int_equal(ensign_timeout(client, 1), 0);
    assert_int_equal(ensign_tick(client, 1), ENSIGN_OK);
    n = ensign_next(client);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_CLOSED);
}

/* The server answers the running call with UNAUTHENTICATED. */
static void refuse(ensi_req_t *q)
{
    submit(q);
    finish(q, ENSIGN_GRPC_UNAUTHENTICATED);
}

static void a_list_can_outlive_two_tokens(void **state)
{
    ensi_req_t *q = req_of(ensign_topic_list(client, NULL));
    (void)state;
    refuse(q);
    page(q, "a", NULL, "1");
    expect_topic(q, "a");
    refuse(q);
    page(q, "b", NULL, "2");
    expect_topic(q, "b");
    refuse(q);
    refuse(q); /* twice for one page: this key is not accepted */
    expect_end(q, ENSIGN_E_UNAUTHENTICATED);
}

static void a_policy_is_no_larger_than_a_message(void **state)
{
    static const char *keys[5];
    static char key[1024 * 1024];
    ensign_dedup_t d;
    (void)state;
    memset(&d, 0, sizeof d);
    memset(key, 'k', sizeof key - 1);
    for (int i = 0; i < 5; i++) keys[i] = key;
    d.keys = keys;
    d.key_count = 4;
    assert_int_equal(ensign_topic_create(client, "a", &d, NULL).id, 0);
    assert_int_equal(ensign_error(client)->code, ENSIGN_E_TOO_LARGE);
    d.key_count = 3;
    req_of(ensign_topic_create(client, "a", &d, NULL));
}

/* ---------------------------------------------------------------- max_answer_bytes */

static uint32_t page_size(const ensi_req_t *q)
{
    const ensi_buf_t *out = &q->ask.call.out;
    size_t len = out->end - ENSI_GRPC_PREFIX;
    ensi_pb_page_info_t m;
    assert_true(ensi_pb_decode(ensi_pb_page_info_fields, &m, out->ptr + ENSI_GRPC_PREFIX, len));
    return m.page_size;
}

/* A page of topics must fit an answer, and a topic can take 1 KiB. */
static void max_answer_bytes_limits_the_pages(void **state)
{
    static const struct { uint32_t max; uint32_t size; } pages[] = {
        { 0, 100 }, { 1024 * 100, 100 }, { 1024 * 100 - 1, 99 }, { 1024 * 10, 10 }, { 2047, 1 }, { 1024, 1 },
        { 1 << 30, 100 }
    };
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(pages); i++) {
        ensi_req_t *q;
        begin_again(pages[i].max);
        assert_int_equal(page_size(req_of(ensign_topic_list(client, NULL))), pages[i].size);
        assert_int_equal(page_size(req_of(ensign_topic_names(client, NULL))), pages[i].size);
        assert_int_equal(page_size(req_of(ensign_topic_by_name(client, "a", NULL))), pages[i].size);
        q = req_of(ensign_topic_list(client, NULL));
        page(q, "a", NULL, "more");
        expect_topic(q, "a");
        assert_int_equal(page_size(q), pages[i].size); /* each page */
    }
}

static void an_answer_of_max_answer_bytes_is_the_largest(void **state)
{
    static uint8_t plan[2000];
    const ensign_notice_t *n;
    ensign_query_desc_t d;
    ensi_req_t *q;
    (void)state;
    memset(&d, 0, sizeof d);
    d.sql = "SELECT * FROM a";
    begin_again(2000);
    q = req_of(ensign_explain(client, &d));
    answer(q, plan, 2000);
    n = next(q);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_PLAN);
    assert_int_equal(n->as.plan.bytes.len, 2000);
    q = req_of(ensign_explain(client, &d));
    submit(q);
    say_length(q, 2001); /* that is enough to refuse it */
    assert_int_equal(q->ask.call.state, ENSI_GRPC_ENDED);
    n = expect_end(q, ENSIGN_E_TOO_LARGE);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(n->error->text, "2001 bytes, 2000 are allowed; raise max_answer_bytes"));
}

static void a_request_of_max_answer_bytes_is_the_largest(void **state)
{
    static char sql[2001];
    ensign_query_desc_t d;
    ensi_req_t *q;
    size_t used;
    (void)state;
    memset(&d, 0, sizeof d);
    memset(sql, 's', sizeof sql - 1);
    d.sql = sql;
    begin_again(2000);
    ensi_mem_close(&client->env.mem);
    used = client->env.mem.used;
    assert_int_equal(ensign_explain(client, &d).id, 0);
    assert_int_equal(ensign_error(client)->code, ENSIGN_E_TOO_LARGE);
    assert_non_null(strstr(ensign_error(client)->text, "request: 2003 bytes, max_answer_bytes allows 2000"));
    ensi_mem_close(&client->env.mem); /* the small blocks that it keeps */
    assert_int_equal(client->env.mem.used, used);
    sql[1997] = '\0'; /* three bytes less, which its head takes */
    q = req_of(ensign_explain(client, &d));
    assert_int_equal(q->request_len, 2000);
}

static void max_answer_bytes_has_bounds(void **state)
{
    static const uint32_t bad[] = { 1, 1023, (1u << 30) + 1, UINT32_MAX };
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(bad); i++) {
        ensign_desc_t d = desc(bad[i]);
        ensign_error_t why;
        ensign_t *c = client;
        assert_int_equal(ensign_create(&d, &c, &why), ENSIGN_E_ARGUMENT);
        assert_null(c);
        assert_non_null(strstr(why.text, "max_answer_bytes"));
    }
    begin_again(1 << 30);
}

/* The largest request, and two answers of the largest size of which one is lent. */
static void the_bound_holds_for_the_largest_request_and_answers(void **state)
{
    enum { MOST = 20000 };
    static char key[MOST - ENSI_REQ_TOPIC + 1];
    static uint8_t bytes[MOST];
    static const char *keys[] = { key };
    ensign_desc_t d = desc(MOST), usual = desc(0);
    size_t bound = ensign_request_memory_bound(&d);
    ensign_dedup_t dedup;
    uint8_t *p;
    ensi_req_t *q;
    (void)state;
    assert_true(ensign_request_memory_bound(&usual) > 4 * (size_t)ENSI_SERVER_MESSAGE_MAX);
    assert_in_range(bound, 4 * MOST, 4 * MOST + 64 * 1024); /* and not for answers of the usual size */
    memset(&dedup, 0, sizeof dedup);
    memset(key, 'k', sizeof key - 1);
    dedup.keys = keys;
    dedup.key_count = 1;
    begin_again(MOST);
    client->env.mem.limit = client->env.mem.used + bound; /* one byte more is E_MEMORY */
    assert_int_equal(ensign_topic_create(client, "a", &dedup, NULL).id, 0); /* its head is too much */
    assert_int_equal(ensign_error(client)->code, ENSIGN_E_TOO_LARGE);
    key[sizeof key - 5] = '\0';
    q = req_of(ensign_topic_create(client, "a", &dedup, NULL));
    assert_int_equal(ensign_forget(client, q->h.id), ENSIGN_OK);
    q = req_of(ensign_topic_list(client, NULL));
    for (int i = 0; i < 3; i++) { /* a page whose second topic is as long as the page lets it be */
        static uint8_t topic[MOST];
        uint8_t *at = ensi_pb_put_bytes(topic, 1, ensi_slice("0123456789abcdef", 16));
        at = ensi_pb_put_bytes(at, 13, ensi_slice(bytes, MOST - 100));
        p = put_topic(bytes, "a");
        p = ensi_pb_put_bytes(p, 1, ensi_slice(topic, (size_t)(at - topic)));
        p = put_token(p, "m");
        assert_in_range(p - bytes, MOST - 60, MOST);
        answer(q, bytes, (size_t)(p - bytes));
        expect_topic(q, "a");
        expect_topic(q, ""); /* it stands while the next page comes */
    }
}

/* ---------------------------------------------------------------- a watch */

static const ensign_notice_t *expect_waiting(ensi_req_t *q, int code, uint32_t failures)
{
    const ensign_notice_t *n = next(q);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_WAITING);
    assert_false(n->last);
    assert_int_equal(n->error->code, code);
    assert_int_equal(n->as.waiting.failures, failures);
    return n;
}

static void expect_health(ensi_req_t *q, int health)
{
    const ensign_notice_t *n = next(q);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_HEALTH);
    assert_int_equal(n->as.health.state, health);
}

/* The stream is asked for again when its time has come. */
static void fails(ensi_req_t *q, int status)
{
    tick(q, 100000);
    submit(q);
    finish(q, status);
}

static void a_watch_tells_why_it_waits(void **state)
{
    static const uint8_t serving[] = { 0x08, 1 };
    ensi_req_t *q = req_of(ensign_health(client, NULL, true, NULL));
    const ensign_notice_t *n;
    (void)state;
    submit(q);
    finish(q, ENSIGN_GRPC_UNAVAILABLE);
    n = expect_waiting(q, ENSIGN_E_UNAVAILABLE, 1);
    assert_non_null(strstr(n->error->text, "Health/Watch answers UNAVAILABLE"));
    assert_in_range(n->as.waiting.retry_in_ms, 0, 100);
    assert_null(next(q));
    fails(q, ENSIGN_GRPC_UNAVAILABLE);
    assert_null(next(q)); /* that reason is told */
    fails(q, ENSIGN_GRPC_INTERNAL);
    expect_waiting(q, ENSIGN_E_INTERNAL, 3);
    fails(q, ENSIGN_GRPC_UNAVAILABLE);
    expect_waiting(q, ENSIGN_E_UNAVAILABLE, 4);
    tick(q, 100000);
    submit(q);
    say(q, serving, sizeof serving);
    expect_health(q, ENSIGN_HEALTH_SERVING);
    finish(q, ENSIGN_GRPC_UNAVAILABLE);
    expect_waiting(q, ENSIGN_E_UNAVAILABLE, 1); /* it went on in between: told anew */
    fails(q, ENSIGN_GRPC_INTERNAL);
    tick(q, 100000);
    submit(q);
    say(q, serving, sizeof serving);
    expect_health(q, ENSIGN_HEALTH_SERVING); /* a reason that nobody pulled is none any more */
    assert_null(next(q));
}

static void a_watch_is_closed_and_cancelled(void **state)
{
    static const uint8_t serving[] = { 0x08, 1 };
    ensi_req_t *q = req_of(ensign_health(client, NULL, true, NULL));
    (void)state;
    submit(q);
    say(q, serving, sizeof serving);
    assert_int_equal(ensign_close(client, q->h.id, ENSIGN_FOREVER), ENSIGN_OK);
    expect_health(q, ENSIGN_HEALTH_SERVING); /* what is here is given */
    assert_int_equal(expect_end(q, 0)->as.end.count, 1);
    q = req_of(ensign_health(client, NULL, true, NULL));
    submit(q);
    say(q, serving, sizeof serving);
    assert_int_equal(ensign_cancel(client, q->h.id), ENSIGN_OK);
    assert_int_equal(expect_end(q, ENSIGN_E_CANCELLED)->as.end.status, ENSIGN_GRPC_CANCELLED);
    q = req_of(ensign_health(client, NULL, true, NULL));
    submit(q);
    finish(q, ENSIGN_GRPC_UNAVAILABLE); /* it waits, and that is over */
    assert_int_equal(ensign_close(client, q->h.id, ENSIGN_FOREVER), ENSIGN_OK);
    assert_int_equal(expect_end(q, 0)->as.end.status, ENSIGN_GRPC_OK);
}

/* A request with an answer waits for it, or is cancelled; a list gives no more then. */
static void a_request_is_closed_and_cancelled(void **state)
{
    static const uint8_t good[] = { 0x08, 1 };
    ensi_req_t *q = req_of(ensign_status(client, NULL));
    const ensign_notice_t *n;
    (void)state;
    assert_int_equal(ensign_close(client, q->h.id, 500), ENSIGN_OK);
    tick(q, 499);
    answer(q, good, sizeof good);
    assert_int_equal(ensign_cancel(client, q->h.id), ENSIGN_OK); /* its last notice waits: nothing changes */
    n = next(q);
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_STATUS);
    q = req_of(ensign_status(client, NULL));
    assert_int_equal(ensign_close(client, q->h.id, 500), ENSIGN_OK);
    tick(q, 500);
    n = expect_end(q, ENSIGN_E_CANCELLED);
    assert_non_null(strstr(n->error->text, "not ended within the time of ensign_close"));
    q = req_of(ensign_topic_list(client, NULL));
    page(q, "a", "b", "1");
    expect_topic(q, "a");
    assert_int_equal(ensign_cancel(client, q->h.id), ENSIGN_OK);
    assert_int_equal(expect_end(q, ENSIGN_E_CANCELLED)->as.end.count, 1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        BARE_TEST(a_topic_stands_while_the_next_page_comes),
        BARE_TEST(records_that_are_no_topic_are_left_out),
        BARE_TEST(the_time_to_read_a_page_is_the_users),
        BARE_TEST(pages_without_an_end_are_ended),
        BARE_TEST(a_token_that_is_too_long_ends_the_request),
        BARE_TEST(uptime_is_bounded),
        BARE_TEST(closing_steps_after_the_last_answer),
        BARE_TEST(a_list_can_outlive_two_tokens),
        BARE_TEST(a_policy_is_no_larger_than_a_message),
        BARE_TEST(max_answer_bytes_limits_the_pages),
        BARE_TEST(an_answer_of_max_answer_bytes_is_the_largest),
        BARE_TEST(a_request_of_max_answer_bytes_is_the_largest),
        BARE_TEST(max_answer_bytes_has_bounds),
        BARE_TEST(the_bound_holds_for_the_largest_request_and_answers),
        BARE_TEST(a_watch_tells_why_it_waits),
        BARE_TEST(a_watch_is_closed_and_cancelled),
        BARE_TEST(a_request_is_closed_and_cancelled),
    };
    return cmocka_run_group_tests_name("req", tests, NULL, NULL);
}
