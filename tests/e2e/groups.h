/* groups.h - for the tests of consumer groups over sockets: an ensignd, members, and the service Groups
 *
 * Members are plain calls of Subscribe, so that a test says each word of theirs. start_server starts an
 * ensignd in memory, or over a folder where `kept` is set. */
#ifndef GROUPS_H
#define GROUPS_H
#include "server.h"
#include "../../tools/common/group_messages.h"

enum { MOST = 400, MEMBERS = 4, MAX_UNACKED = 8, MAX_DELIVER = 3, MAX_GROUPS = 20, LARGE = 15000 };
enum { ALL, SUBSCRIBER, READER, KEYS };

#define SERVICE "/ensign.v1beta1.Ensign/"
#define GROUPS "/ensignd.v1.Groups/"
#define UNUSED __attribute__((unused))  /* not by each of the programs */

static const char keys_text[] =
    "{ \"projects\": [ { \"name\": \"p\", \"keys\": ["
    " { \"client_id\": \"all\", \"client_secret\": \"a\" },"
    " { \"client_id\": \"subscriber\", \"client_secret\": \"a\", \"permissions\": [ \"subscriber\" ] },"
    " { \"client_id\": \"reader\", \"client_secret\": \"a\","
    "   \"permissions\": [ \"subscriber\", \"topics:read\" ] } ] } ] }";
static const char *const key_names[KEYS] = { "all", "subscriber", "reader" };

static char folder[] = "/tmp/ensign-groups-XXXXXX";
static bool strict, kept;
static ensign_t *clients[KEYS];

/* ------------------------------------------------------------------ the server, and its clients */

static void start_server(void)
{
    char options[96];

    snprintf(options, sizeof options, "--max-unacked 8 --max-deliver 3 --max-groups 20 %s%s",
             kept ? "--data DATA" : "--memory", strict ? " --strict" : "");
    server_start(options);
    for (int i = 0; i < KEYS; i++) clients[i] = client_of(key_names[i]);
}

static int stop_server(int signal)
{
    for (int i = 0; i < KEYS; i++) ensign_destroy(clients[i]);
    return server_stop(signal);
}

static int set_up(void **state)
{
    (void)state;

    make_folder(folder, keys_text);
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

/* One of that name that is being destroyed goes before. */
static void make_topic(const char *name)
{
    ensi_pb_topic_t t;
    int left = 100000;

    memset(&t, 0, sizeof t);
    t.name = text(name);
    do call(ALL, SERVICE "CreateTopic", ensi_pb_topic_fields, &t);
    while (answer.status == ENSIGN_GRPC_ALREADY_EXISTS && left-- > 0);
    if (answer.status != ENSIGN_GRPC_OK) fail_msg("%s", answer.text);
}

static UNUSED bool topic_exists(const char *name)
{
    ensi_pb_topic_name_t t;
    ensi_pb_topic_exists_info_t info;

    memset(&t, 0, sizeof t);
    t.name = text(name);
    assert_int_equal(call(ALL, SERVICE "TopicExists", ensi_pb_topic_name_fields, &t), ENSIGN_GRPC_OK);
    assert_true(ensi_pb_decode(ensi_pb_topic_exists_info_fields, &info, answer.bytes, answer.len));
    return info.exists;
}

/* Events whose data are their numbers, from `first` on, with blanks behind up to `size` bytes. */
static void publish_sized(const char *topic, int first, int count, int size)
{
    ensign_publisher_desc_t d;
    ensign_publisher_t p;
    ensign_event_t e;
    char data[LARGE + 1];

    memset(&d, 0, sizeof d);
    d.topic = topic;
    p = ensign_publisher_open(clients[ALL], &d);
    for (int i = first; i < first + count; i++) {
        memset(&e, 0, sizeof e);
        snprintf(data, sizeof data, "%-*d", size, i);
        e.data = text(data);
        e.mimetype = ENSIGN_MIME_TEXT_PLAIN;
        assert_int_equal(ensign_publish(clients[ALL], p, &e), ENSIGN_OK);
    }
    assert_int_equal(ensign_publisher_flush(clients[ALL], p, WAIT_MS), ENSIGN_OK);
    ensign_forget(clients[ALL], p.id);
}

static void publish(const char *topic, int first, int count)
{
    publish_sized(topic, first, count, 0);
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
    uint8_t  event[LARGE + 2000];
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
        assert_true(ensi_pb_encode(ensi_pb_consumer_group_topic_offsets_entry_fields, &entry, one, sizeof one,
                                   &n));
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
static UNUSED got_t get_any(const member_t *m, size_t count, size_t *from)
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

static int change(int key, const char *method, const char *group, int32_t to, uint64_t offset,
                  const char *topic)
{
    ensi_pb_reset_group_request_t r;
    uint8_t topics[600], *end = topics;

    memset(&r, 0, sizeof r);
    r.has_group = true;
    r.group = by_name(group);
    if (strcmp(method, "Remove") == 0)
        return call(key, GROUPS "Remove", ensi_pb_group_request_fields, &r.group);
    r.to = to;
    r.offset = offset;
    r.topics.ptr = topics;
    if (topic) end = ensi_pb_put_bytes(topics, ENSI_PB_RESET_GROUP_REQUEST_TOPICS_TAG, text(topic));
    r.topics.len = (size_t)(end - topics);
    return call(key, GROUPS "Reset", ensi_pb_reset_group_request_fields, &r);
}

static void remove_group(const char *name)
{
    if (change(ALL, "Remove", name, 0, 0, NULL) != ENSIGN_GRPC_OK) fail_msg("%s", answer.text);
}
#endif
