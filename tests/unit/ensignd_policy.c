/* ensignd_policy.c - the RPCs of the development server that change topics, over logs in memory that answer
 * soon, late, and that cannot amend: what is asked at once, calls that go before their answer, a server that
 * ends in between */
#include "../../tools/ensignd/policy.c"
#include "../../tools/ensignd/log_engine.h"
#include "../../tools/ensignd/log_now.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { CALLS = 4 };

typedef enum { ENGINE_SOON, ENGINE_LATE_1, ENGINE_LATE_2, ENGINE_FIXED } which_t;

static service_t service;
static topics_t tables[32], *topics;    /* the one of now; a watch lives as long as the log */
static broker_t broker;
static bool settled;                    /* the log has all that the broker had */
static call_t calls[CALLS];
static buf_t sent[CALLS];               /* the last message of each */
static why_t why;

bool broker_answered(const broker_t *b, uint64_t handed)
{
    (void)b, (void)handed;
    return settled;
}

void call_send(call_t *c, ensign_slice_t message)
{
    buf_t *b = &sent[c - calls];
    b->start = b->end = 0;
    buf_put(b, message.ptr, message.len);
}

void call_end(call_t *c, int status, const char *text)
{
    if (c->ended) return;
    c->ended = true;
    c->status = status;
    free(c->status_text);
    c->status_text = x_strdup(text ? text : "");
}

/* Here are none. */
void groups_forget_topic(service_t *s, const ulid_t *topic)
{
    (void)s;
    (void)topic;
}

/* ------------------------------------------------------------------ the server around them */
static void open_service(void)
{
    topics = topics ? topics + 1 : tables;
    assert_true(topics < tables + sizeof tables / sizeof tables[0]);
    topics_open(topics, service.log);
    service.topics = topics;
    service.dedup = dedup_window_open(service.log, topics, 0);
    service_resume(&service);
}

static void close_service(void)
{
    changes_free(&service);
    jobs_free(&service);
    numbers_free(&service);
    dedup_window_close(service.dedup);
    topics_close(topics);
    service.numbers = NULL;
    service.numbers_cap = 0;
}

static int set_up(void **state)
{
    static log_engine_t fixed;
    which_t which = *(which_t *)*state;
    const log_engine_t *engine = which == ENGINE_SOON ? &log_sqlite : &log_late;
    const char *seed = which == ENGINE_LATE_1 ? "1" : which == ENGINE_LATE_2 ? "2" : NULL;

    fixed = log_sqlite;
    fixed.can_amend = false;
    memset(&service, 0, sizeof service);
    topics = NULL;
    settled = true;
    service.broker = &broker;
    if (which == ENGINE_FIXED) engine = &fixed;
    service.log = log_open(engine, seed, LOG_WRITE, 60000, &why);
    if (!service.log) return -1;
    open_service();
    return 0;
}

static void forget_calls(void)
{
    for (int i = 0; i < CALLS; i++) {
        change_closed(&service, &calls[i]);
        free(calls[i].status_text);
        memset(&calls[i], 0, sizeof calls[i]);
        buf_free(&sent[i]);
    }
}

static int tear_down(void **state)
{
    (void)state;
    forget_calls();
    close_service();
    log_close(service.log);
    return 0;
}

static void turn(void)
{
    log_run(service.log);
    jobs_run(&service);
}

/* Until nothing is asked any more. */
static void run(void)
{
    while (service.changes || service.jobs || service.waiting) turn();
}

static call_t *fresh(int i)
{
    change_closed(&service, &calls[i]);
    free(calls[i].status_text);
    memset(&calls[i], 0, sizeof calls[i]);
    calls[i].claims.has_project = true;
    calls[i].claims.project.b[0] = 1;
    calls[i].claims.permissions = PERM_ALL;
    return &calls[i];
}

static void ended(int i, int status, const char *text)
{
    assert_true(calls[i].ended);
    assert_string_equal(calls[i].status_text, text);
    assert_int_equal(calls[i].status, status);
}

/* ------------------------------------------------------------------ requests */
static call_t *ask(int i, void (*rpc)(service_t *, call_t *, ensign_slice_t), msg_kind_t kind, const void *m)
{
    buf_t b = { NULL, 0, 0, 0 };
    call_t *c = fresh(i);

    assert_true(msg_put(&b, kind, m));
    rpc(&service, c, buf_bytes(&b));
    buf_free(&b);
    return c;
}

static call_t *create(int i, const char *name, const ulid_t *id)
{
    msg_topic_t m;

    memset(&m, 0, sizeof m);
    m.name = slice_text(name);
    if (id) m.id = slice_of(id->b, sizeof id->b);
    return ask(i, rpc_create_topic, MSG_TOPIC, &m);
}

static call_t *set(int i, const topic_t *t, int32_t strategy)
{
    msg_topic_policy_t m;
    char id[ULID_TEXT + 1];

    memset(&m, 0, sizeof m);
    ulid_text(&t->id, id);
    m.id = slice_text(id);
    m.has_deduplication_policy = true;
    m.deduplication_policy.strategy = strategy;
    return ask(i, rpc_set_topic_policy, MSG_TOPIC_POLICY, &m);
}

static call_t *modify(int i, const topic_t *t, int32_t operation)
{
    msg_topic_mod_t m;
    char id[ULID_TEXT + 1];

    memset(&m, 0, sizeof m);
    ulid_text(&t->id, id);
    m.id = slice_text(id);
    m.operation = operation;
    return ask(i, rpc_delete_topic, MSG_TOPIC_MOD, &m);
}

static topic_t *named(const char *name)
{
    ulid_t project = { { 1 } };
    return topics_by_name(topics, &project, slice_text(name));
}

static topic_t *made(const char *name)
{
    create(0, name, NULL);
    run();
    ended(0, GRPC_OK, "");
    assert_non_null(named(name));
    return named(name);
}

static bool count_one(void *user, ensign_slice_t key, ensign_slice_t value)
{
    (void)key;
    (void)value;
    ++*(size_t *)user;
    return true;
}

static size_t count_records(const char *prefix)
{
    size_t n = 0;
    log_each(service.log, prefix, count_one, &n);
    return n;
}

/* ------------------------------------------------------------------ tests */
static void a_topic_is_there_when_the_answer_comes(void **state)
{
    msg_topic_t m;
    (void)state;

    create(0, "weather", NULL);
    assert_false(calls[0].ended);
    run();
    ended(0, GRPC_OK, "");
    assert_true(msg_decode(MSG_TOPIC, &m, buf_bytes(&sent[0])));
    assert_true(slice_eq(m.id, slice_of(named("weather")->id.b, 16)));
    assert_true(slice_eq(buf_bytes(&sent[0]),
                         slice_of(named("weather")->message, named("weather")->message_len)));
    create(1, "weather", NULL);
    ended(1, GRPC_ALREADY_EXISTS, "topic name already exists in project");
}

static void a_name_that_is_asked_for_twice_at_once_is_made_once(void **state)
{
    int good = 0;
    (void)state;

    for (int i = 0; i < CALLS; i++) create(i, "weather", NULL);
    run();
    for (int i = 0; i < CALLS; i++) {
        good += calls[i].status == GRPC_OK;
        if (calls[i].status != GRPC_OK) ended(i, GRPC_ALREADY_EXISTS, "topic name already exists in project");
    }
    assert_int_equal(good, 1);
    assert_int_equal(topics->count, 1);
}

static void so_is_an_id(void **state)
{
    ulid_t id = { { 7 } };
    bool first;
    (void)state;

    create(0, "weather", &id);
    create(1, "orders", &id);
    run();
    first = calls[0].status == GRPC_OK;
    ended(first ? 0 : 1, GRPC_OK, "");
    ended(first ? 1 : 0, GRPC_INTERNAL, "could not process create topic request");
    assert_int_equal(topics->count, 1);
    assert_int_equal(count_records(TOPIC_PREFIX), 1);
    made(first ? "orders" : "weather");         /* the name is free */
}

static void a_call_may_go_before_its_answer(void **state)
{
    (void)state;
    change_closed(&service, create(0, "weather", NULL));
    run();
    assert_non_null(named("weather"));
    change_closed(&service, set(0, named("weather"), MSG_DEDUPLICATION_STRATEGY_STRICT));
    run();
    assert_int_equal(named("weather")->state, MSG_TOPIC_STATE_READY);
    change_closed(&service, modify(0, named("weather"), MSG_TOPIC_MOD_OPERATION_ARCHIVE));
    run();
    assert_true(named("weather")->readonly);
    change_closed(&service, modify(0, named("weather"), MSG_TOPIC_MOD_OPERATION_DESTROY));
    run();
    assert_null(named("weather"));
    assert_int_equal(count_records(""), 0);
}

static void of_two_changes_at_once_one_is_made(void **state)
{
    topic_t *t = made("weather");
    bool first;
    (void)state;

    set(0, t, MSG_DEDUPLICATION_STRATEGY_STRICT);
    modify(1, t, MSG_TOPIC_MOD_OPERATION_ARCHIVE);
    run();
    first = calls[0].status == GRPC_OK;
    ended(first ? 0 : 1, GRPC_OK, "");
    ended(first ? 1 : 0, GRPC_ABORTED,
          "the topic was changed by another request at the same time; try again");
    assert_int_equal(t->readonly, !first);
}

static void a_policy_is_applied_and_then_the_topic_is_ready(void **state)
{
    topic_t *t = made("weather");
    msg_topic_status_t status;
    (void)state;

    settled = false;
    set(1, t, MSG_DEDUPLICATION_STRATEGY_DATAGRAM);
    while (!calls[1].ended) turn();
    ended(1, GRPC_OK, "");
    assert_true(msg_decode(MSG_TOPIC_STATUS, &status, buf_bytes(&sent[1])));
    assert_int_equal(status.state, MSG_TOPIC_STATE_PENDING);
    while (service.jobs) turn();
    for (int i = 0; i < 20; i++) turn();
    assert_int_equal(t->state, MSG_TOPIC_STATE_PENDING);
    settled = true;
    jobs_wake_all(&service, &broker, true);
    run();
    assert_int_equal(t->state, MSG_TOPIC_STATE_READY);
}

/* Where stored events stay as they are. */
static void a_log_that_cannot_amend(void **state)
{
    topic_t *t = made("weather");
    msg_topic_status_t status;
    (void)state;

    set(1, t, MSG_DEDUPLICATION_STRATEGY_DATAGRAM);
    ended(1, GRPC_UNIMPLEMENTED,
          "the policy DATAGRAM is not supported, since the store of this server cannot change stored events; "
          "NONE and STRICT are");
    for (int32_t strategy = MSG_DEDUPLICATION_STRATEGY_STRICT; strategy > 0; strategy--) {
        set(1, t, strategy);
        while (!calls[1].ended) turn();
        ended(1, GRPC_OK, "");
        assert_true(msg_decode(MSG_TOPIC_STATUS, &status, buf_bytes(&sent[1])));
        assert_int_equal(status.state, MSG_TOPIC_STATE_READY);
        assert_null(service.jobs);
    }
}

static void destruction_is_taken_up_again(void **state)
{
    topic_t *t = made("weather");
    uint8_t stray[8 + 16] = "destroy/";
    (void)state;

    made("orders");
    assert_true(log_put_now(service.log, slice_of(stray, sizeof stray), slice_text("1"), &why));
    modify(1, t, MSG_TOPIC_MOD_OPERATION_DESTROY);
    while (!calls[1].ended) turn();
    ended(1, GRPC_OK, "");
    forget_calls();
    close_service();
    assert_true(count_records("destroy/") > 1);
    open_service();
    if (named("weather")) {
        modify(1, named("weather"), MSG_TOPIC_MOD_OPERATION_DESTROY);
        ended(1, GRPC_OK, "");          /* it is under way */
    }
    run();
    assert_null(named("weather"));
    assert_non_null(named("orders"));
    assert_int_equal(count_records("destroy/"), 0);
}

static void on_append(log_request_t *r)
{
    *(bool *)r->user = true;
}

static void store_event(const topic_t *t)
{
    static const uint8_t event[] = { 0x4a, 3, 0x12, 1, 'x' };
    log_append_t a;
    log_new_t n;
    bool done = false;

    memset(&a, 0, sizeof a);
    a.base.done = on_append;
    a.base.user = &done;
    a.project = t->project;
    a.events = &n;
    a.count = 1;
    n.topic = t->id;
    n.value = slice_of(event, sizeof event);
    log_append(service.log, &a);
    while (!done) turn();
}

/* Whatever is under way: nothing leaks, and nothing is touched afterwards. */
static void the_server_may_end_at_any_time(void **state)
{
    char name[16];
    (void)state;

    for (int turns = 0; turns < 12; turns++) {
        for (int i = 0; i < 3; i++) {
            snprintf(name, sizeof name, "t%d-%d", turns, i);
            store_event(made(name));
        }
        create(0, "more", NULL);
        snprintf(name, sizeof name, "t%d-0", turns);
        set(1, named(name), MSG_DEDUPLICATION_STRATEGY_DATAGRAM);
        snprintf(name, sizeof name, "t%d-1", turns);
        modify(2, named(name), MSG_TOPIC_MOD_OPERATION_DESTROY);
        snprintf(name, sizeof name, "t%d-2", turns);
        modify(3, named(name), MSG_TOPIC_MOD_OPERATION_ARCHIVE);
        for (int i = 0; i < turns; i++) turn();
        forget_calls();
        close_service();
        for (int i = 0; i < 20; i++) log_run(service.log);
        open_service();
        run();
    }
}

static which_t engines[] = { ENGINE_SOON, ENGINE_LATE_1, ENGINE_LATE_2, ENGINE_FIXED };
#define ONE(n, name, test) { name #test, test, set_up, tear_down, &engines[n] }
#define ALL(test) ONE(0, "", test), ONE(1, "late: ", test), ONE(2, "late: ", test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL(a_topic_is_there_when_the_answer_comes),
        ALL(a_name_that_is_asked_for_twice_at_once_is_made_once),
        ALL(so_is_an_id),
        ALL(a_call_may_go_before_its_answer),
        ALL(of_two_changes_at_once_one_is_made),
        ALL(a_policy_is_applied_and_then_the_topic_is_ready),
        ONE(3, "", a_log_that_cannot_amend),
        ALL(destruction_is_taken_up_again),
        ALL(the_server_may_end_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
