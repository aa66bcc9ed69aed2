/* groups.c - consumer groups of the development server over sockets: who gets what, what comes again, what is dead,
 * what outlives the server, what is refused; and its service Groups
 *
 * Members are plain calls of Subscribe, so that a test says each word of theirs. The program starts an ensignd of
 * its own ($ENSIGND, or build/ensignd) over a folder of its own. */
#define _GNU_SOURCE
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#include "../../tools/common/group_messages.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { WAIT_MS = 60000, MOST = 400, MEMBERS = 4, MAX_UNACKED = 8, MAX_DELIVER = 3, MAX_GROUPS = 20 };
enum { ALL, SUBSCRIBER, READER, KEYS };

#define SERVICE "/ensign.v1beta1.Ensign/"
#define GROUPS "/ensignd.v1.Groups/"

static const char keys_text[] =
    "{ \"projects\": [ { \"name\": \"p\", \"keys\": ["
    " { \"client_id\": \"all\", \"client_secret\": \"a\" },"
    " { \"client_id\": \"subscriber\", \"client_secret\": \"a\", \"permissions\": [ \"subscriber\" ] },"
    " { \"client_id\": \"reader\", \"client_secret\": \"a\","
    "   \"permissions\": [ \"subscriber\", \"topics:read\" ] } ] } ] }";
static const char *const key_names[KEYS] = { "all", "subscriber", "reader" };

static char folder[] = "/tmp/ensign-groups-XXXXXX";
static bool strict;
static pid_t server;
static ensign_t *clients[KEYS];

/* ------------------------------------------------------------------ the server, and its clients */

static void run_server(int out)
{
    const char *named = getenv("ENSIGND"), *program = named ? named : "build/ensignd";
    char data[64], keys[64];

    snprintf(data, sizeof data, "%s/%s", folder, strict ? "strict" : "data");
    snprintf(keys, sizeof keys, "%s/keys", folder);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(out, STDOUT_FILENO);
    execl(program, "ensignd", "--port", "0", "--auth-port", "0", "--data", data, "--keys", keys, "--max-unacked",
          "8", "--max-deliver", "3", "--max-groups", "20", strict ? "--strict" : (char *)NULL, (char *)NULL);
    _exit(127);
}

static ensign_t *client_of(const char *endpoint, const char *auth, const char *id)
{
    ensign_desc_t d;
    ensign_error_t why;
    ensign_t *c;

    memset(&d, 0, sizeof d);
    d.endpoint = endpoint;
    d.auth_url = auth;
    d.client_id = id;
    d.client_secret = "a";
    d.tls.off = true;
    if (ensign_create(&d, &c, &why) != ENSIGN_OK) fail_msg("%s", why.text);
    return c;
}

/* The line that says where it is: "..., endpoint E, auth A". */
static void start_server(void)
{
    char line[256] = "", endpoint[64], auth[96];
    int fds[2];
    FILE *f;

    assert_int_equal(pipe(fds), 0);
    server = fork();
    assert_true(server >= 0);
    if (server == 0) run_server(fds[1]);
    close(fds[1]);
    f = fdopen(fds[0], "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    assert_int_equal(sscanf(line, "ensignd: ready, endpoint %63[^,], auth %95s", endpoint, auth), 2);
    fclose(f);
    for (int i = 0; i < KEYS; i++) clients[i] = client_of(endpoint, auth, key_names[i]);
}

static int stop_server(int signal)
{
    int status = -1;

    for (int i = 0; i < KEYS; i++) ensign_destroy(clients[i]);
    kill(server, signal);
    assert_int_equal(waitpid(server, &status, 0), server);
    return status;
}

static int set_up(void **state)
{
    char path[64];
    FILE *f;
    (void)state;

    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/keys", folder);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(keys_text, f);
    fclose(f);
    start_server();
    return 0;
}

static int tear_down(void **state)
{
    char command[96];
    int status = stop_server(SIGTERM);
    (void)state;

    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) == 0 && status == 0 ? 0 : -1;
}

/* ------------------------------------------------------------------ calls */

static struct { int status; char text[300]; uint8_t bytes[65536]; size_t len; } answer;

static ensign_slice_t text(const char *s)
{
    ensign_slice_t t;
    t.ptr = (const uint8_t *)s;
    t.len = strlen(s);
    return t;
}

static bool is(ensign_slice_t s, const char *wanted)
{
    return s.len == strlen(wanted) && (s.len == 0 || memcmp(s.ptr, wanted, s.len) == 0);
}

static const ensign_notice_t *next(ensign_t *c, uint32_t handle)
{
    const ensign_notice_t *n = NULL;
    int rc = ensign_await(c, handle, WAIT_MS, &n);

    if (rc != ENSIGN_OK) fail_msg("%s", ensign_error(c)->text);
    return n;
}

static void note(ensign_slice_t message, int status, ensign_slice_t words)
{
    assert_true(message.len <= sizeof answer.bytes);
    if (message.len) memcpy(answer.bytes, message.ptr, message.len);
    answer.len = message.len;
    answer.status = status;
    snprintf(answer.text, sizeof answer.text, "%.*s", (int)words.len, (const char *)words.ptr);
}

static int call(int key, const char *path, const pb_msgdesc_t *fields, const void *request)
{
    uint8_t bytes[2048];
    size_t n = 0;
    ensign_call_desc_t d;
    ensign_call_t k;
    const ensign_notice_t *got;

    assert_true(ensi_pb_encode(fields, request, bytes, sizeof bytes, &n));
    memset(&d, 0, sizeof d);
    d.method = path;
    d.request.ptr = bytes;
    d.request.len = n;
    d.unary = true;
    d.wait_for_ready = true;
    d.deadline_ms = WAIT_MS;
    k = ensign_call_open(clients[key], &d);
    if (k.id == 0) fail_msg("%s", ensign_error(clients[key])->text);
    got = next(clients[key], k.id);
    assert_int_equal(got->type, ENSIGN_NOTICE_REPLY);
    note(got->as.reply.message, got->as.reply.status, got->as.reply.text);
    return answer.status;
}

static void make_topic(const char *name)
{
    ensi_pb_topic_t t;

    memset(&t, 0, sizeof t);
    t.name = text(name);
    if (call(ALL, SERVICE "CreateTopic", ensi_pb_topic_fields, &t) != ENSIGN_GRPC_OK) fail_msg("%s", answer.text);
}

static bool topic_exists(const char *name)
{
    ensi_pb_topic_name_t t;
    ensi_pb_topic_exists_info_t info;

    memset(&t, 0, sizeof t);
    t.name = text(name);
    assert_int_equal(call(ALL, SERVICE "TopicExists", ensi_pb_topic_name_fields, &t), ENSIGN_GRPC_OK);
    assert_true(ensi_pb_decode(ensi_pb_topic_exists_info_fields, &info, answer.bytes, answer.len));
    return info.exists;
}

/* Events whose data are their numbers, from `first` on. */
static void publish(const char *topic, int first, int count)
{
    ensign_publisher_desc_t d;
    ensign_publisher_t p;
    ensign_event_t e;
    char data[16];

    memset(&d, 0, sizeof d);
    d.topic = topic;
    p = ensign_publisher_open(clients[ALL], &d);
    for (int i = first; i < first + count; i++) {
        memset(&e, 0, sizeof e);
        snprintf(data, sizeof data, "%d", i);
        e.data = text(data);
        e.mimetype = ENSIGN_MIME_TEXT_PLAIN;
        assert_int_equal(ensign_publish(clients[ALL], p, &e), ENSIGN_OK);
    }
    assert_int_equal(ensign_publisher_flush(clients[ALL], p, WAIT_MS), ENSIGN_OK);
    ensign_forget(clients[ALL], p.id);
}

/* ------------------------------------------------------------------ members */

typedef struct member_t { int key; ensign_call_t call; size_t topics; } member_t;

typedef struct wish_t {
    const char *name, *id;              /* NULL: none */
    const char *topic, *other;          /* NULL: all; and one more */
    int32_t     delivery;
    int64_t     timeout_ms;
    const char *query;
    int64_t     from;                   /* offset in `topic`; -1: none */
} wish_t;

/* An event as a member got it. */
typedef struct got_t {
    uint8_t  id[10];
    uint64_t offset, epoch;
    int      number;                    /* its data */
    uint8_t  event[2048];
    size_t   len;
} got_t;

static wish_t wish(const char *group, const char *topic)
{
    wish_t w;

    memset(&w, 0, sizeof w);
    w.name = group;
    w.topic = topic;
    w.from = -1;
    return w;
}

static size_t subscription(const wish_t *w, uint8_t *out, size_t cap)
{
    ensi_pb_subscribe_request_t r;
    ensi_pb_consumer_group_t *g = &r.subscription.group;
    ensi_pb_consumer_group_topic_offsets_entry_t entry;
    uint8_t topics[1200], offsets[600], one[600];
    uint8_t *p = topics;
    size_t n = 0;

    memset(&r, 0, sizeof r);
    r.has_subscription = r.subscription.has_group = true;
    if (w->topic) p = ensi_pb_put_bytes(p, ENSI_PB_SUBSCRIPTION_TOPICS_TAG, text(w->topic));
    if (w->other) p = ensi_pb_put_bytes(p, ENSI_PB_SUBSCRIPTION_TOPICS_TAG, text(w->other));
    r.subscription.topics.ptr = topics;
    r.subscription.topics.len = (size_t)(p - topics);
    if (w->name) g->name = text(w->name);
    if (w->id) g->id = text(w->id);
    g->delivery = w->delivery;
    g->has_delivery_timeout = w->timeout_ms != 0;
    g->delivery_timeout.seconds = w->timeout_ms / 1000;
    g->delivery_timeout.nanos = (int32_t)(w->timeout_ms % 1000 * 1000000);
    r.subscription.has_query = w->query != NULL;
    if (w->query) r.subscription.query.query = text(w->query);
    if (w->from >= 0) {
        entry.key = text(w->topic);
        entry.value = (uint64_t)w->from;
        assert_true(ensi_pb_encode(ensi_pb_consumer_group_topic_offsets_entry_fields, &entry, one, sizeof one, &n));
        g->topic_offsets.ptr = offsets;
        p = offsets;
        *p++ = ENSI_PB_CONSUMER_GROUP_TOPIC_OFFSETS_TAG << 3 | 2;
        p = ensi_pb_put_varint(p, n);
        memcpy(p, one, n);
        g->topic_offsets.len = (size_t)(p - offsets) + n;
    }
    assert_true(ensi_pb_encode(ensi_pb_subscribe_request_fields, &r, out, cap, &n));
    return n;
}

static size_t count_topics(ensign_slice_t topics)
{
    ensign_slice_t entry;
    size_t at = 0, n = 0;

    while (ensi_pb_span_next(topics, ENSI_PB_STREAM_READY_TOPICS_TAG, &at, &entry)) n++;
    return n;
}

/* Behind ready. False: it was refused, and `answer` has the status. */
static bool try_join(member_t *m, int key, wish_t w)
{
    uint8_t request[4096];
    ensign_call_desc_t d;
    const ensign_notice_t *n;
    ensi_pb_subscribe_reply_t reply;

    memset(&d, 0, sizeof d);
    d.method = SERVICE "Subscribe";
    d.request.ptr = request;
    d.request.len = subscription(&w, request, sizeof request);
    d.wait_for_ready = true;
    m->key = key;
    m->call = ensign_call_open(clients[key], &d);
    if (m->call.id == 0) fail_msg("%s", ensign_error(clients[key])->text);
    do n = next(clients[key], m->call.id);
    while (n->type != ENSIGN_NOTICE_MESSAGE && n->type != ENSIGN_NOTICE_END);
    if (n->type == ENSIGN_NOTICE_END) {
        static const ensign_slice_t none;
        note(none, n->as.end.status, n->as.end.text);
        return false;
    }
    assert_true(ensi_pb_decode(ensi_pb_subscribe_reply_fields, &reply, n->as.message.bytes.ptr,
                               n->as.message.bytes.len));
    assert_true(reply.has_ready);
    m->topics = count_topics(reply.ready.topics);
    return true;
}

static member_t join_as(int key, wish_t w)
{
    member_t m;
    if (!try_join(&m, key, w)) fail_msg("%s", answer.text);
    return m;
}

static member_t join(const char *group, const char *topic)
{
    return join_as(ALL, wish(group, topic));
}

static void leave(const member_t *m)
{
    const ensign_notice_t *n;

    ensign_cancel(clients[m->key], m->call.id);
    do n = next(clients[m->key], m->call.id);
    while (!n->last);
    ensign_wait(clients[m->key], NULL, 0, 0);
}

static void read_event(const ensign_notice_t *n, got_t *g)
{
    ensi_pb_subscribe_reply_t reply;
    ensi_pb_event_t e;
    char data[16];

    if (n->type != ENSIGN_NOTICE_MESSAGE) fail_msg("%s: %s", ensign_notice_name(n->type), n->error->text);
    assert_true(ensi_pb_decode(ensi_pb_subscribe_reply_fields, &reply, n->as.message.bytes.ptr,
                               n->as.message.bytes.len));
    assert_true(reply.has_event);
    assert_int_equal(reply.event.id.len, sizeof g->id);
    memcpy(g->id, reply.event.id.ptr, sizeof g->id);
    g->offset = reply.event.offset;
    g->epoch = reply.event.epoch;
    assert_int_equal(g->offset > 0 && g->epoch > 0, !strict);
    assert_true(reply.event.event.len <= sizeof g->event);
    memcpy(g->event, reply.event.event.ptr, g->len = reply.event.event.len);
    assert_true(ensi_pb_decode(ensi_pb_event_fields, &e, g->event, g->len));
    snprintf(data, sizeof data, "%.*s", (int)e.data.len, (const char *)e.data.ptr);
    g->number = atoi(data);
}

static got_t get(const member_t *m)
{
    const ensign_notice_t *n;
    got_t g;

    do n = next(clients[m->key], m->call.id);
    while (n->type == ENSIGN_NOTICE_HEADERS || n->type == ENSIGN_NOTICE_ROOM);
    read_event(n, &g);
    return g;
}

/* From whichever member comes first; *from: its index. All have the same key. */
static got_t get_any(const member_t *m, size_t count, size_t *from)
{
    ensign_t *c = clients[m->key];
    const ensign_notice_t *n;
    got_t g;

    for (;;) {
        for (*from = 0; *from < count; ++*from) {
            while ((n = ensign_next_of(c, m[*from].call.id)) != NULL) {
                if (n->type == ENSIGN_NOTICE_HEADERS || n->type == ENSIGN_NOTICE_ROOM) continue;
                read_event(n, &g);
                return g;
            }
        }
        assert_true(ensign_wait(c, NULL, 0, WAIT_MS) >= 0);
    }
}

static void say(const member_t *m, const ensi_pb_subscribe_request_t *r)
{
    uint8_t bytes[64];
    ensign_slice_t message = { bytes, 0 };

    assert_true(ensi_pb_encode(ensi_pb_subscribe_request_fields, r, bytes, sizeof bytes, &message.len));
    assert_int_equal(ensign_call_send(clients[m->key], m->call, message, 0), ENSIGN_OK);
    ensign_wait(clients[m->key], NULL, 0, 0);   /* the next question may be another client's */
}

static void ack(const member_t *m, const got_t *g)
{
    ensi_pb_subscribe_request_t r;

    memset(&r, 0, sizeof r);
    r.has_ack = true;
    r.ack.id.ptr = g->id;
    r.ack.id.len = sizeof g->id;
    say(m, &r);
}

static void nack(const member_t *m, const got_t *g, int32_t code)
{
    ensi_pb_subscribe_request_t r;

    memset(&r, 0, sizeof r);
    r.has_nack = true;
    r.nack.id.ptr = g->id;
    r.nack.id.len = sizeof g->id;
    r.nack.code = code;
    say(m, &r);
}

/* ------------------------------------------------------------------ the service Groups */

typedef struct row_t { uint64_t offset, lag, pending, redeliveries, dead_letters; unsigned members; } row_t;

static ensi_pb_group_request_t by_name(const char *name)
{
    ensi_pb_group_request_t r;

    memset(&r, 0, sizeof r);
    r.name = text(name);
    return r;
}

static int get_group(int key, const char *name, ensi_pb_group_t *out)
{
    ensi_pb_group_request_t r = by_name(name);

    if (call(key, GROUPS "Get", ensi_pb_group_request_fields, &r) == ENSIGN_GRPC_OK)
        assert_true(ensi_pb_decode(ensi_pb_group_fields, out, answer.bytes, answer.len));
    return answer.status;
}

/* Where the group stands in a topic. */
static row_t stands(const char *group, const char *topic)
{
    ensi_pb_group_t g;
    ensi_pb_group_topic_t t;
    ensign_slice_t item;
    size_t at = 0;
    row_t row;

    if (get_group(READER, group, &g) != ENSIGN_GRPC_OK) fail_msg("%s", answer.text);
    memset(&row, 0, sizeof row);
    row.members = g.members;
    while (ensi_pb_span_next(g.topics, ENSI_PB_GROUP_TOPICS_TAG, &at, &item)) {
        assert_true(ensi_pb_decode(ensi_pb_group_topic_fields, &t, item.ptr, item.len));
        if (!is(t.name, topic)) continue;
        row.offset = t.offset;
        row.lag = t.lag;
        row.pending = t.pending;
        row.redeliveries = t.redeliveries;
        row.dead_letters = t.dead_letters;
    }
    return row;
}

/* Each question is a turn of the server's loop. */
static row_t lag_becomes(const char *group, const char *topic, uint64_t lag)
{
    for (int i = 0; i < 100000; i++) {
        row_t r = stands(group, topic);
        if (r.lag == lag) return r;
        ensign_wait(clients[ALL], NULL, 0, 0);  /* whose acks it may wait for */
    }
    fail_msg("the lag of %s does not become %d", group, (int)lag);
    return stands(group, topic);
}

static void members_become(const char *group, unsigned members)
{
    for (int i = 0; i < 100000; i++)
        if (stands(group, "").members == members) return;
    fail_msg("%s does not have %u members", group, members);
}

static int change(int key, const char *method, const char *group, int32_t to, uint64_t offset, const char *topic)
{
    ensi_pb_reset_group_request_t r;
    uint8_t topics[600];

    memset(&r, 0, sizeof r);
    r.has_group = true;
    r.group = by_name(group);
    if (strcmp(method, "Remove") == 0) return call(key, GROUPS "Remove", ensi_pb_group_request_fields, &r.group);
    r.to = to;
    r.offset = offset;
    r.topics.ptr = topics;
    if (topic)
        r.topics.len = (size_t)(ensi_pb_put_bytes(topics, ENSI_PB_RESET_GROUP_REQUEST_TOPICS_TAG, text(topic)) - topics);
    return call(key, GROUPS "Reset", ensi_pb_reset_group_request_fields, &r);
}

static void remove_group(const char *name)
{
    if (change(ALL, "Remove", name, 0, 0, NULL) != ENSIGN_GRPC_OK) fail_msg("%s", answer.text);
}

/* ------------------------------------------------------------------ tests */

static void each_event_goes_to_one_of_four_members(void **state)
{
    member_t m[MEMBERS];
    int got[MEMBERS] = { 0 };
    bool seen[MOST] = { false };
    size_t from;
    row_t r;
    (void)state;

    make_topic("shared");
    for (int i = 0; i < MEMBERS; i++) m[i] = join("four", "shared");
    publish("shared", 0, MOST);
    for (int i = 0; i < MOST; i++) {
        got_t g = get_any(m, MEMBERS, &from);
        assert_false(seen[g.number]);
        seen[g.number] = true;
        got[from]++;
        ack(&m[from], &g);
    }
    for (int i = 0; i < MEMBERS; i++) assert_true(got[i] > 0);
    r = lag_becomes("four", "shared", 0);
    assert_int_equal(r.members, MEMBERS);
    assert_int_equal(r.pending + r.redeliveries + r.dead_letters, 0);
    for (int i = 0; i < MEMBERS; i++) leave(&m[i]);
    members_become("four", 0);
    remove_group("four");
}

static void a_member_has_so_many_without_an_ack(void **state)
{
    member_t m;
    got_t g, last;
    row_t r;
    (void)state;

    make_topic("window");
    m = join("window", "window");
    publish("window", 0, 3 * MAX_UNACKED);
    for (int i = 0; i < MAX_UNACKED; i++) {
        last = get(&m);
        assert_int_equal(last.number, i);
        if (i == 0) g = last;
    }
    r = stands("window", "window");
    assert_int_equal(r.pending, MAX_UNACKED);
    assert_int_equal(r.lag, 3 * MAX_UNACKED);
    ack(&m, &g);
    g = get(&m);
    assert_int_equal(g.number, MAX_UNACKED);
    assert_int_equal(stands("window", "window").pending, MAX_UNACKED);
    leave(&m);
    members_become("window", 0);
    remove_group("window");
}

/* What it had goes to the others, and does not count as a failed delivery. */
static void members_come_and_go(void **state)
{
    member_t m = join("come", "shared"), other;
    (void)state;

    publish("shared", 0, MAX_UNACKED);
    for (int round = 0; round < 2 * MAX_DELIVER; round++) {
        for (int i = 0; i < MAX_UNACKED; i++) assert_int_equal(get(&m).number, i);
        other = join("come", "shared");
        leave(&m);
        m = other;
    }
    for (int i = 0; i < MAX_UNACKED; i++) {
        got_t g = get(&m);
        assert_int_equal(g.number, i);
        ack(&m, &g);
    }
    assert_int_equal(lag_becomes("come", "shared", 0).dead_letters, 0);
    leave(&m);
    members_become("come", 0);
    remove_group("come");
}

static void a_nacked_event_comes_again(void **state)
{
    static const int32_t codes[] = { ENSIGN_NACK_UNKNOWN, ENSIGN_NACK_UNPROCESSED, ENSIGN_NACK_TIMEOUT,
                                     ENSIGN_NACK_DELIVER_AGAIN_ANY, ENSIGN_NACK_UNHANDLED_MIMETYPE,
                                     ENSIGN_NACK_UNKNOWN_TYPE, ENSIGN_NACK_DELIVER_AGAIN_NOT_ME, 4711, -1 };
    member_t m = join("alone", "shared");
    (void)state;

    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        got_t g, again;
        publish("shared", (int)i, 1);
        g = get(&m);
        nack(&m, &g, codes[i]);
        again = get(&m);                /* it is the only member */
        assert_memory_equal(g.id, again.id, sizeof g.id);
        ack(&m, &again);
    }
    assert_int_equal(lag_becomes("alone", "shared", 0).redeliveries, sizeof codes / sizeof codes[0]);
    leave(&m);
    members_become("alone", 0);
    remove_group("alone");
}

static void three_codes_send_it_to_another_member(void **state)
{
    static const int32_t codes[] = { ENSIGN_NACK_UNHANDLED_MIMETYPE, ENSIGN_NACK_UNKNOWN_TYPE,
                                     ENSIGN_NACK_DELIVER_AGAIN_NOT_ME };
    member_t m[2];
    (void)state;

    m[0] = join("two", "shared");
    m[1] = join("two", "shared");
    for (int i = 0; i < 12; i++) {
        size_t first, then;
        got_t g, again;
        publish("shared", i, 1);
        g = get_any(m, 2, &first);
        nack(&m[first], &g, codes[i % 3]);
        again = get_any(m, 2, &then);
        assert_memory_equal(g.id, again.id, sizeof g.id);
        assert_int_equal(then, 1 - first);
        ack(&m[then], &again);
    }
    leave(&m[0]);
    leave(&m[1]);
    members_become("two", 0);
    remove_group("two");
}

static void without_an_ack_it_comes_again(void **state)
{
    wish_t w = wish("slow", "shared");
    member_t m;
    got_t g, again;
    (void)state;

    w.timeout_ms = 50;
    m = join_as(ALL, w);
    publish("shared", 7, 1);
    g = get(&m);
    again = get(&m);
    assert_memory_equal(g.id, again.id, sizeof g.id);
    ack(&m, &g);
    lag_becomes("slow", "shared", 0);
    leave(&m);
    members_become("slow", 0);
    remove_group("slow");
}

static void an_ack_counts_from_any_member(void **state)
{
    member_t a = join("any", "shared"), b;
    got_t g;
    (void)state;

    publish("shared", 1, 1);
    g = get(&a);
    b = join("any", "shared");
    ack(&b, &g);                        /* it is out at the other one */
    lag_becomes("any", "shared", 0);
    leave(&b);
    publish("shared", 2, 1);
    g = get(&a);
    leave(&a);
    members_become("any", 0);
    a = join("any", "shared");          /* as the program that has it, behind a break of its connection */
    ack(&a, &g);
    lag_becomes("any", "shared", 0);
    publish("shared", 3, 1);
    do {
        g = get(&a);                    /* 2 may have come again before its ack was there */
        ack(&a, &g);
    } while (g.number != 3);
    leave(&a);
    members_become("any", 0);
    remove_group("any");
}

static bool has_pair(const got_t *g, const char *key, const char *value)
{
    ensi_pb_event_metadata_entry_t pair;
    ensi_pb_event_t e;
    ensign_slice_t item;
    size_t at = 0;

    assert_true(ensi_pb_decode(ensi_pb_event_fields, &e, g->event, g->len));
    while (ensi_pb_span_next(e.metadata, ENSI_PB_EVENT_METADATA_TAG, &at, &item))
        if (ensi_pb_decode(ensi_pb_event_metadata_entry_fields, &pair, item.ptr, item.len) && is(pair.key, key))
            return value == NULL || is(pair.value, value);
    return false;
}

static void a_poisoned_event_becomes_a_dead_letter(void **state)
{
    member_t m, reader, all;
    wish_t w = wish("undertakers", "poison-dead");
    got_t g;
    char offset[24];
    (void)state;

    make_topic("poison");
    m = join_as(SUBSCRIBER, wish("victims", "poison"));         /* a key that may make no topics */
    publish("poison", 13, 2);
    for (int i = 0; i < MAX_DELIVER; i++) {
        do {
            g = get(&m);
            if (g.number == 14) ack(&m, &g);
        } while (g.number == 14);
        snprintf(offset, sizeof offset, "%llu", (unsigned long long)g.offset);
        nack(&m, &g, ENSIGN_NACK_UNKNOWN_TYPE);
    }
    assert_int_equal(lag_becomes("victims", "poison", 0).dead_letters, 1);
    assert_true(topic_exists("poison-dead"));

    w.from = 0;
    reader = join_as(ALL, w);
    for (int i = 0; i < 2 * MAX_DELIVER; i++) {                 /* never dead itself */
        g = get(&reader);
        assert_int_equal(g.number, 13);
        assert_true(has_pair(&g, "ensignd-dead-reason", "UNKNOWN_TYPE"));
        assert_true(has_pair(&g, "ensignd-dead-deliveries", "3"));
        assert_true(has_pair(&g, "ensignd-dead-topic", "poison"));
        assert_true(has_pair(&g, "ensignd-dead-offset", offset));
        assert_true(has_pair(&g, "ensignd-dead-group", "victims"));
        if (i + 1 < 2 * MAX_DELIVER) nack(&reader, &g, ENSIGN_NACK_UNPROCESSED);
        else ack(&reader, &g);
    }
    assert_int_equal(lag_becomes("undertakers", "poison-dead", 0).dead_letters, 0);
    assert_false(topic_exists("poison-dead-dead"));

    all = join("everything", NULL);
    publish("poison", 2, 1);
    assert_int_equal(get(&all).number, 2);
    assert_int_equal(all.topics, 3);    /* shared, window, poison */
    leave(&m);
    leave(&reader);
    leave(&all);
}

static void a_kill_loses_nothing_and_repeats_no_ack(void **state)
{
    enum { COUNT = 120, ACKED = 77 };
    member_t m = join("killed", "shared");
    bool acked[COUNT] = { false };
    got_t g;
    (void)state;

    publish("shared", 0, COUNT);
    for (int i = 0; i < ACKED; i++) {
        g = get(&m);
        if (g.number % 5 == 2) continue;
        acked[g.number] = true;
        ack(&m, &g);
        if (i % MAX_UNACKED == MAX_UNACKED - 1 || i == ACKED - 1) break;
    }
    for (int turn = 0; turn < 5; turn++) {
        int left = COUNT;
        for (int i = 0; i < COUNT; i++) left -= acked[i];
        lag_becomes("killed", "shared", (uint64_t)left);       /* what is told is not stored yet: a put follows */
        stands("killed", "shared");
        stop_server(SIGKILL);
        start_server();
        m = join("killed", "shared");
        for (int i = 0; i < MAX_UNACKED && left - i > 0; i++) {
            g = get(&m);
            assert_false(acked[g.number]);
            if (i == 0 && turn < 4) continue;                  /* it stays out, and comes again behind the kill */
            acked[g.number] = true;
            ack(&m, &g);
        }
    }
    for (;;) {
        int left = COUNT;
        for (int i = 0; i < COUNT; i++) left -= acked[i];
        if (left == 0) break;
        g = get(&m);
        assert_false(acked[g.number]);
        acked[g.number] = true;
        ack(&m, &g);
    }
    assert_int_equal(lag_becomes("killed", "shared", 0).redeliveries, 0);
    leave(&m);
    members_become("killed", 0);
    remove_group("killed");
}

/* The member has it from before the kill: its ack comes before the server has read the event again. */
static void an_ack_counts_behind_a_kill(void **state)
{
    member_t m = join("later", "shared");
    got_t g, other;
    (void)state;

    publish("shared", 1, 1);
    g = get(&m);
    stop_server(SIGKILL);
    start_server();
    m = join("later", "shared");
    ack(&m, &g);
    lag_becomes("later", "shared", 0);
    publish("shared", 2, 1);
    do {
        other = get(&m);
        ack(&m, &other);
    } while (other.number != 2);
    leave(&m);
    members_become("later", 0);
    remove_group("later");
}

static void at_most_once_is_done_when_it_is_handed_over(void **state)
{
    wish_t w = wish("once", "shared");
    member_t m;
    (void)state;

    w.delivery = 1;
    m = join_as(ALL, w);
    publish("shared", 0, 3 * MAX_UNACKED);
    for (int i = 0; i < 3 * MAX_UNACKED; i++) assert_int_equal(get(&m).number, i);      /* without acks */
    lag_becomes("once", "shared", 0);
    leave(&m);
    m = join_as(ALL, w);
    publish("shared", 100, 1);
    assert_int_equal(get(&m).number, 100);
    stop_server(SIGKILL);
    start_server();
    m = join_as(ALL, w);
    publish("shared", 101, 1);
    assert_int_equal(get(&m).number, 101);
    leave(&m);
    members_become("once", 0);
    remove_group("once");
}

static void refused(wish_t w, int status, const char *words)
{
    member_t m;

    if (try_join(&m, ALL, w)) fail_msg("it was taken");
    assert_int_equal(answer.status, status);
    if (!strstr(answer.text, words)) fail_msg("\"%s\" is not in: %s", words, answer.text);
}

static void what_a_group_cannot_do_is_refused(void **state)
{
    wish_t w = wish("strange", "shared");
    member_t m;
    char name[16];
    (void)state;

    w.delivery = 3;
    refused(w, ENSIGN_GRPC_INVALID_ARGUMENT, "EXACTLY_ONCE");
    w.delivery = 4;
    refused(w, ENSIGN_GRPC_INVALID_ARGUMENT, "AT_LEAST_ONCE");
    w = wish("strange", "shared");
    w.timeout_ms = -1000;
    refused(w, ENSIGN_GRPC_INVALID_ARGUMENT, "24 hours");
    w.timeout_ms = 86400001;
    refused(w, ENSIGN_GRPC_INVALID_ARGUMENT, "24 hours");
    w = wish("strange", "shared");
    w.query = "SELECT * FROM shared";
    refused(w, ENSIGN_GRPC_INVALID_ARGUMENT, "query");
    assert_int_equal(get_group(READER, "strange", NULL), ENSIGN_GRPC_NOT_FOUND);

    w = wish("settled", "shared");
    w.timeout_ms = 4000;
    m = join_as(ALL, w);
    w.timeout_ms = 5000;
    refused(w, ENSIGN_GRPC_FAILED_PRECONDITION, "4000");
    refused(w, ENSIGN_GRPC_FAILED_PRECONDITION, "5000");
    w.timeout_ms = 0;
    w.delivery = 1;
    refused(w, ENSIGN_GRPC_FAILED_PRECONDITION, "AT_LEAST_ONCE");
    refused(w, ENSIGN_GRPC_FAILED_PRECONDITION, "AT_MOST_ONCE");
    w.delivery = 2;                     /* UNSPECIFIED is this one */
    leave(&m);
    m = join_as(ALL, w);
    leave(&m);
    members_become("settled", 0);
    remove_group("settled");

    for (int i = 0;; i++) {
        snprintf(name, sizeof name, "many%d", i);
        if (!try_join(&m, ALL, wish(name, "shared"))) break;
        leave(&m);
        assert_true(i < MAX_GROUPS);
    }
    assert_int_equal(answer.status, ENSIGN_GRPC_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(answer.text, "20 groups"));
    for (int i = 0; i < MAX_GROUPS; i++) {
        snprintf(name, sizeof name, "many%d", i);
        while (change(ALL, "Remove", name, 0, 0, NULL) == ENSIGN_GRPC_FAILED_PRECONDITION) {}
    }
}

static void a_group_has_an_id_of_16_bytes(void **state)
{
    wish_t w = wish(NULL, "shared");
    member_t a, b;
    ensi_pb_group_t g;
    (void)state;

    w.id = "sixteen bytes id";
    a = join_as(ALL, w);
    w.name = "its name";
    b = join_as(ALL, w);                /* the same group */
    w.id = "another length";
    w.name = NULL;
    leave(&b);
    b = join_as(ALL, w);
    w.name = "ignored";
    leave(&b);
    b = join_as(ALL, w);
    members_become("another length", 1);        /* the hash of the id is that of the name */
    leave(&a);
    leave(&b);
    members_become("another length", 0);
    remove_group("another length");
    {
        ensi_pb_group_request_t r = by_name("");
        r.id = text("sixteen bytes id");
        assert_int_equal(call(READER, GROUPS "Get", ensi_pb_group_request_fields, &r), ENSIGN_GRPC_OK);
        assert_true(ensi_pb_decode(ensi_pb_group_fields, &g, answer.bytes, answer.len));
        assert_true(is(g.id, "sixteen bytes id") && is(g.name, ""));
        while (call(ALL, GROUPS "Remove", ensi_pb_group_request_fields, &r) != ENSIGN_GRPC_OK)
            assert_int_equal(answer.status, ENSIGN_GRPC_FAILED_PRECONDITION);
    }
}

static void a_new_group_begins_live_or_where_it_says(void **state)
{
    wish_t w = wish("from", "begin");
    member_t m;
    got_t first;
    (void)state;

    make_topic("begin");
    publish("begin", 0, 3);
    w.from = 0;
    m = join_as(ALL, w);
    first = get(&m);
    assert_int_equal(first.number, 0);
    leave(&m);
    members_become("from", 0);
    w.from = 1000000;                   /* it is no new group any more */
    m = join_as(ALL, w);
    assert_int_equal(get(&m).number, 0);
    leave(&m);
    members_become("from", 0);
    remove_group("from");
    w.from = (int64_t)first.offset;
    m = join_as(ALL, w);
    assert_int_equal(get(&m).number, 1);
    leave(&m);
    members_become("from", 0);
    remove_group("from");
    m = join("from", "begin");
    publish("begin", 3, 1);
    assert_int_equal(get(&m).number, 3);
    leave(&m);
    members_become("from", 0);
    remove_group("from");
}

static void a_group_is_reset_and_removed(void **state)
{
    member_t m = join("reset", "begin");
    got_t got[4];
    ensi_pb_group_t g;
    (void)state;

    publish("begin", 10, 4);
    for (int i = 0; i < 4; i++) {
        got[i] = get(&m);
        ack(&m, &got[i]);
    }
    lag_becomes("reset", "begin", 0);
    assert_int_equal(change(ALL, "Reset", "reset", 1, 0, NULL), ENSIGN_GRPC_FAILED_PRECONDITION);
    assert_int_equal(change(ALL, "Remove", "reset", 0, 0, NULL), ENSIGN_GRPC_FAILED_PRECONDITION);
    leave(&m);
    members_become("reset", 0);
    assert_int_equal(change(READER, "Reset", "reset", 1, 0, NULL), ENSIGN_GRPC_PERMISSION_DENIED);
    assert_int_equal(change(READER, "Remove", "reset", 0, 0, NULL), ENSIGN_GRPC_PERMISSION_DENIED);
    assert_int_equal(get_group(SUBSCRIBER, "reset", &g), ENSIGN_GRPC_PERMISSION_DENIED);
    assert_int_equal(change(ALL, "Reset", "reset", 0, 0, NULL), ENSIGN_GRPC_INVALID_ARGUMENT);
    assert_int_equal(change(ALL, "Reset", "reset", 4, 0, NULL), ENSIGN_GRPC_INVALID_ARGUMENT);  /* no time */
    assert_int_equal(change(ALL, "Reset", "reset", 1, 0, "no-such-topic"), ENSIGN_GRPC_NOT_FOUND);
    assert_int_equal(change(ALL, "Reset", "no such group", 1, 0, NULL), ENSIGN_GRPC_NOT_FOUND);
    assert_int_equal(change(ALL, "Reset", "", 1, 0, NULL), ENSIGN_GRPC_INVALID_ARGUMENT);

    assert_int_equal(change(ALL, "Reset", "reset", 3, got[2].offset, "begin"), ENSIGN_GRPC_OK);
    assert_int_equal(stands("reset", "begin").lag, 2);
    m = join("reset", "begin");
    assert_int_equal(get(&m).number, 12);
    leave(&m);
    members_become("reset", 0);
    assert_int_equal(change(ALL, "Reset", "reset", 1, 0, NULL), ENSIGN_GRPC_OK);
    m = join("reset", "begin");
    assert_int_equal(get(&m).number, 0);
    leave(&m);
    members_become("reset", 0);
    assert_int_equal(change(ALL, "Reset", "reset", 2, 0, NULL), ENSIGN_GRPC_OK);
    assert_int_equal(stands("reset", "begin").lag, 0);
    stop_server(SIGKILL);
    start_server();
    assert_int_equal(stands("reset", "begin").lag, 0);
    remove_group("reset");
    assert_int_equal(get_group(READER, "reset", &g), ENSIGN_GRPC_NOT_FOUND);
    m = join("reset", "begin");         /* a new one: it begins live */
    publish("begin", 20, 1);
    assert_int_equal(get(&m).number, 20);
    leave(&m);
}

static void a_time_finds_its_event(void **state)
{
    ensi_pb_reset_group_request_t r;
    wish_t w = wish("time", "begin");
    member_t m = join_as(ALL, w);
    got_t g;
    (void)state;

    publish("begin", 30, 1);
    g = get(&m);
    leave(&m);
    members_become("time", 0);
    memset(&r, 0, sizeof r);
    r.has_group = r.has_time = true;
    r.group = by_name("time");
    r.to = ENSI_PB_RESET_GROUP_REQUEST_POSITION_TIME;
    assert_int_equal(call(ALL, GROUPS "Reset", ensi_pb_reset_group_request_fields, &r), ENSIGN_GRPC_OK);
    m = join_as(ALL, w);
    assert_int_equal(get(&m).number, 0);        /* 1970 */
    leave(&m);
    members_become("time", 0);
    for (int i = 0; i < 6; i++) r.time.seconds = r.time.seconds << 8 | g.id[i];        /* ms */
    r.time.nanos = (int32_t)(r.time.seconds % 1000 * 1000000);
    r.time.seconds /= 1000;
    assert_int_equal(call(ALL, GROUPS "Reset", ensi_pb_reset_group_request_fields, &r), ENSIGN_GRPC_OK);
    m = join_as(ALL, w);
    assert_true(get(&m).offset <= g.offset);    /* another one may have the same ms */
    leave(&m);
    members_become("time", 0);
    r.time.seconds += 1000000;
    assert_int_equal(call(ALL, GROUPS "Reset", ensi_pb_reset_group_request_fields, &r), ENSIGN_GRPC_OK);
    assert_int_equal(stands("time", "begin").lag, 0);
    remove_group("time");
}

static void the_library_is_a_member(void **state)
{
    static const char *const topics[] = { "shared" };
    ensign_subscription_desc_t d;
    ensign_subscription_t s;
    const ensign_notice_t *n;
    int got = 0, nacked = 0;
    (void)state;

    memset(&d, 0, sizeof d);
    d.topics = topics;
    d.topic_count = 1;
    d.group = "library";
    s = ensign_subscription_open(clients[ALL], &d);
    do n = next(clients[ALL], s.id);
    while (n->type != ENSIGN_NOTICE_OPEN);
    publish("shared", 0, 30);
    while (got < 30) {
        n = next(clients[ALL], s.id);
        if (n->type != ENSIGN_NOTICE_EVENT) continue;
        if (nacked++ % 4 == 0) {
            ensign_nack(clients[ALL], s, n->as.event->token, ENSIGN_NACK_UNPROCESSED);
        } else {
            ensign_ack(clients[ALL], s, n->as.event->token);
            got++;
        }
    }
    assert_int_equal(lag_becomes("library", "shared", 0).dead_letters, 0);
    ensign_forget(clients[ALL], s.id);
}

static void with_strict_groups_do_nothing(void **state)
{
    member_t a, b;
    ensi_pb_group_t g;
    (void)state;

    assert_int_equal(stop_server(SIGTERM), 0);
    strict = true;
    start_server();
    make_topic("plain");
    a = join("group", "plain");
    b = join("group", "plain");
    publish("plain", 1, 1);
    assert_int_equal(get(&a).number, 1);
    assert_int_equal(get(&b).number, 1);
    assert_int_equal(get_group(READER, "group", &g), ENSIGN_GRPC_UNIMPLEMENTED);
    leave(&a);
    leave(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_event_goes_to_one_of_four_members),
        cmocka_unit_test(a_member_has_so_many_without_an_ack),
        cmocka_unit_test(members_come_and_go),
        cmocka_unit_test(a_nacked_event_comes_again),
        cmocka_unit_test(three_codes_send_it_to_another_member),
        cmocka_unit_test(without_an_ack_it_comes_again),
        cmocka_unit_test(an_ack_counts_from_any_member),
        cmocka_unit_test(a_poisoned_event_becomes_a_dead_letter),
        cmocka_unit_test(a_kill_loses_nothing_and_repeats_no_ack),
        cmocka_unit_test(an_ack_counts_behind_a_kill),
        cmocka_unit_test(at_most_once_is_done_when_it_is_handed_over),
        cmocka_unit_test(what_a_group_cannot_do_is_refused),
        cmocka_unit_test(a_group_has_an_id_of_16_bytes),
        cmocka_unit_test(a_new_group_begins_live_or_where_it_says),
        cmocka_unit_test(a_group_is_reset_and_removed),
        cmocka_unit_test(a_time_finds_its_event),
        cmocka_unit_test(the_library_is_a_member),
        cmocka_unit_test(with_strict_groups_do_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
