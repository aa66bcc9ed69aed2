/* topics.c - the RPCs of the development server that are about topics, over sockets: names, pages, policies,
 * archive, destroy, numbers; who may call them, and the words with which wrong arguments are refused
 *
 * The program starts an ensignd of its own ($ENSIGND, or build/ensignd) over a folder of its own. */
#include "server.h"

enum { TURNS = 20000, MANY = 6000, ANSWER = 1 << 20 };
enum { ALL, NOBODY, PUBLISHER, EDITOR, READER, STRANGER, KEYS };

#define SERVICE "/ensign.v1beta1.Ensign/"

static const char keys_text[] =
    "{ \"projects\": [ { \"name\": \"p\", \"keys\": ["
    " { \"client_id\": \"all\", \"client_secret\": \"a\" },"
    " { \"client_id\": \"nobody\", \"client_secret\": \"a\", \"permissions\": [ \"subscriber\" ] },"
    " { \"client_id\": \"publisher\", \"client_secret\": \"a\", \"permissions\": [ \"publisher\" ] },"
    " { \"client_id\": \"editor\", \"client_secret\": \"a\", \"permissions\": [ \"topics:edit\" ] },"
    " { \"client_id\": \"reader\", \"client_secret\": \"a\", \"permissions\": [ \"topics:read\" ] } ] },"
    " { \"name\": \"q\", \"keys\": [ { \"client_id\": \"stranger\", \"client_secret\": \"a\" } ] } ] }";
static const char *const key_names[KEYS] = { "all", "nobody", "publisher", "editor", "reader", "stranger" };

static char folder[] = "/tmp/ensign-topics-XXXXXX", strict_folder[] = "/tmp/ensign-strict-XXXXXX";
static ensign_t *clients[KEYS];

/* ------------------------------------------------------------------ the server, and its clients */
static void start_server(void)
{
    server_start(server_folder == strict_folder ? "--data DATA --strict" : "--data DATA");
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

    snprintf(command, sizeof command, "rm -rf %s %s", folder, strict_folder);
    return system(command) == 0 && status == 0 ? 0 : -1;
}

/* ------------------------------------------------------------------ calls */
typedef struct answer_t {
    int status;
    char text[240];
    uint8_t bytes[ANSWER];
    size_t len;
} answer_t;

static answer_t answer;

static int call_bytes(int key, const char *method, const void *request, size_t len)
{
    ensign_call_desc_t d;
    ensign_call_t k;
    const ensign_notice_t *n;
    char path[96];

    memset(&d, 0, sizeof d);
    snprintf(path, sizeof path, SERVICE "%s", method);
    d.method = path;
    d.request.ptr = (const uint8_t *)request;
    d.request.len = len;
    d.unary = true;
    d.wait_for_ready = true;
    d.deadline_ms = WAIT_MS;
    answer.len = 0;
    k = ensign_call_open(clients[key], &d);
    if (k.id == 0) fail_msg("%s", ensign_error(clients[key])->text);
    n = next(clients[key], k.id);
    assert_int_equal(n->type, ENSIGN_NOTICE_REPLY);
    assert_true(n->last);
    answer.len = n->as.reply.message.len;
    assert_true(answer.len <= sizeof answer.bytes);
    if (answer.len) memcpy(answer.bytes, n->as.reply.message.ptr, answer.len);
    answer.status = n->as.reply.status;
    snprintf(answer.text, sizeof answer.text, "%.*s", (int)n->as.reply.text.len,
             (const char *)n->as.reply.text.ptr);
    return answer.status;
}

static int call(int key, const char *method, const pb_msgdesc_t *fields, const void *request)
{
    uint8_t bytes[2048];
    size_t n = 0;
    assert_true(ensi_pb_encode(fields, request, bytes, sizeof bytes, &n));
    return call_bytes(key, method, bytes, n);
}

static void refused(int status, const char *text)
{
    assert_int_equal(answer.status, status);
    assert_string_equal(answer.text, text);
}

static void read_answer(const pb_msgdesc_t *fields, void *out)
{
    if (answer.status != ENSIGN_GRPC_OK) fail_msg("status %d: %s", answer.status, answer.text);
    assert_true(ensi_pb_decode(fields, out, answer.bytes, answer.len));
}

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

/* ------------------------------------------------------------------ topics */
typedef struct made_t { ensign_ulid_t id; char text[27]; } made_t;

static made_t made_of(const ensi_pb_topic_t *t)
{
    made_t m;
    assert_int_equal(t->id.len, sizeof m.id.b);
    memcpy(m.id.b, t->id.ptr, sizeof m.id.b);
    ensign_ulid_text(m.id, m.text);
    return m;
}

static int create(int key, const char *name, ensi_pb_topic_t *out)
{
    ensi_pb_topic_t t;
    memset(&t, 0, sizeof t);
    t.name = text(name);
    if (call(key, "CreateTopic", ensi_pb_topic_fields, &t) == ENSIGN_GRPC_OK)
        read_answer(ensi_pb_topic_fields, out);
    return answer.status;
}

static made_t make(const char *name)
{
    ensi_pb_topic_t t;
    if (create(ALL, name, &t) != ENSIGN_GRPC_OK) fail_msg("%s: %s", name, answer.text);
    return made_of(&t);
}

static int retrieve(int key, const made_t *m, ensi_pb_topic_t *out)
{
    ensi_pb_topic_t t;
    memset(&t, 0, sizeof t);
    t.id.ptr = m->id.b;
    t.id.len = sizeof m->id.b;
    if (call(key, "RetrieveTopic", ensi_pb_topic_fields, &t) == ENSIGN_GRPC_OK)
        read_answer(ensi_pb_topic_fields, out);
    return answer.status;
}

static int delete_topic(int key, const char *id, int32_t operation)
{
    ensi_pb_topic_mod_t m;
    m.id = text(id);
    m.operation = operation;
    return call(key, "DeleteTopic", ensi_pb_topic_mod_fields, &m);
}

static void says_state(const made_t *m, int32_t state)
{
    ensi_pb_topic_status_t s;
    read_answer(ensi_pb_topic_status_fields, &s);
    assert_true(is(s.id, m->text));
    assert_int_equal(s.state, state);
}

typedef struct policy_t {
    int32_t strategy, offset;
    const char *keys[4], *fields[2];
    bool overwrite;
} policy_t;

static ensign_slice_t list_of(const char *const *texts, size_t most, uint32_t tag, uint8_t room[256])
{
    ensign_slice_t span = { room, 0 };
    for (size_t i = 0; i < most && texts[i]; i++)
        span.len = (size_t)(ensi_pb_put_bytes(room + span.len, tag, text(texts[i])) - room);
    return span;
}

static int set_policy(int key, const char *id, const policy_t *p, int32_t sharding)
{
    uint8_t keys[256], fields[256];
    ensi_pb_topic_policy_t m;

    memset(&m, 0, sizeof m);
    m.id = text(id);
    m.sharding_strategy = sharding;
    m.has_deduplication_policy = p != NULL;
    if (p) {
        m.deduplication_policy.strategy = p->strategy;
        m.deduplication_policy.offset = p->offset;
        m.deduplication_policy.keys = list_of(p->keys, 4, ENSI_PB_DEDUPLICATION_KEYS_TAG, keys);
        m.deduplication_policy.fields = list_of(p->fields, 2, ENSI_PB_DEDUPLICATION_FIELDS_TAG, fields);
        m.deduplication_policy.overwrite_duplicate = p->overwrite;
    }
    return call(key, "SetTopicPolicy", ensi_pb_topic_policy_fields, &m);
}

/* Asks until the job is over: each question is a turn of the server's loop. */
static void becomes_ready(const made_t *m, ensi_pb_topic_t *out)
{
    for (int i = 0; i < TURNS; i++) {
        assert_int_equal(retrieve(ALL, m, out), ENSIGN_GRPC_OK);
        if (out->status == ENSI_PB_TOPIC_STATE_READY) return;
        assert_int_equal(out->status, ENSI_PB_TOPIC_STATE_PENDING);
    }
    fail_msg("the topic stays PENDING");
}

static void run_policy(const made_t *m, const policy_t *p)
{
    ensi_pb_topic_t t;
    if (set_policy(ALL, m->text, p, 0) != ENSIGN_GRPC_OK) fail_msg("%s", answer.text);
    says_state(m, ENSI_PB_TOPIC_STATE_PENDING);
    becomes_ready(m, &t);
    assert_int_equal(t.deduplication.strategy, p->strategy);
}

/* ------------------------------------------------------------------ events */
typedef struct sample_t { const char *data; ensign_pair_t pair; } sample_t;

static ensign_publisher_t open_publisher(const char *topic)
{
    ensign_publisher_desc_t d;
    ensign_publisher_t p;

    memset(&d, 0, sizeof d);
    d.topic = topic;
    p = ensign_publisher_open(clients[ALL], &d);
    if (p.id == 0) fail_msg("%s", ensign_error(clients[ALL])->text);
    return p;
}

/* 0: acked, else the nack's code. */
static int publish(ensign_publisher_t p, const sample_t *s, int32_t mimetype)
{
    const ensign_notice_t *n;
    ensign_event_t e;

    memset(&e, 0, sizeof e);
    e.data = text(s->data);
    e.mimetype = mimetype;
    e.created.seconds = 1000;
    if (s->pair.key) {
        e.pairs = &s->pair;
        e.pair_count = 1;
    }
    if (ensign_publish(clients[ALL], p, &e) != ENSIGN_OK) fail_msg("%s", ensign_error(clients[ALL])->text);
    do n = next(clients[ALL], p.id);
    while (n->type != ENSIGN_NOTICE_ACK && n->type != ENSIGN_NOTICE_NACK && !n->last);
    if (n->type == ENSIGN_NOTICE_NACK) return n->as.nack.code;
    if (n->last) fail_msg("%s", n->error ? n->error->text : "the publisher has ended");
    return 0;
}

static void close_publisher(ensign_publisher_t p)
{
    assert_int_equal(ensign_close(clients[ALL], p.id, WAIT_MS), ENSIGN_OK);
    while (!next(clients[ALL], p.id)->last) {}
}

static void publish_all(const char *topic, const sample_t *samples, size_t n)
{
    ensign_publisher_t p = open_publisher(topic);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(publish(p, &samples[i], ENSIGN_MIME_TEXT_PLAIN), 0);
    close_publisher(p);
}

/* What is stored, read by a server of its own that only looks: for each event its data, and with * and the
   place of the original if it is a duplicate: "a b *0a". */
typedef struct record_t { char id[17], of[17], data[32]; } record_t;

static size_t read_stored(const char *topic, record_t records[16])
{
    char command[160], line[2048], data[64];
    size_t count = 0;
    FILE *f;

    in_folder(data, "data");
    snprintf(command, sizeof command, "%s --data %s --dump %s", program(), data, topic);
    f = popen(command, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        const char *of = strstr(line, "\"duplicate_of\":\""), *at = strstr(line, "\"data\":\"");
        record_t *r = &records[count];
        memset(r, 0, sizeof *r);
        if (sscanf(line, "{\"kind\":\"event\",\"id\":\"%16[^\"]", r->id) != 1) continue;
        assert_true(++count < 16);
        if (of) assert_int_equal(sscanf(of, "\"duplicate_of\":\"%16[^\"]", r->of), 1);
        if (at) sscanf(at, "\"data\":\"%31[^\"]", r->data);
    }
    assert_int_equal(pclose(f), 0);
    return count;
}

static void stored(const char *topic, const char *wanted)
{
    record_t records[16];
    size_t count = read_stored(topic, records), n = 0;
    char got[256] = "";

    for (size_t i = 0; i < count; i++) {
        n += (size_t)snprintf(got + n, sizeof got - n, "%s", i ? " " : "");
        for (size_t k = 0; records[i].of[0] && k < count; k++)
            if (k != i && strcmp(records[k].id, records[i].of) == 0)
                n += (size_t)snprintf(got + n, sizeof got - n, "*%zu", k);
        n += (size_t)snprintf(got + n, sizeof got - n, "%s", records[i].data);
    }
    assert_string_equal(got, wanted);
}

/* ------------------------------------------------------------------ who may, and what is wrong */
static void keys_without_the_right_are_refused(void **state)
{
    static const struct { const char *method; int allowed[3]; } rows[] = {
        { "ListTopics", { READER } }, { "CreateTopic", { ALL } }, { "RetrieveTopic", { READER } },
        { "TopicNames", { READER, PUBLISHER, NOBODY } }, { "TopicExists", { READER, PUBLISHER, NOBODY } },
        { "SetTopicPolicy", { EDITOR } }, { "Info", { ALL } },
    };
    (void)state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int key = NOBODY; key <= READER; key++) {
            bool may = key == rows[i].allowed[0] || key == rows[i].allowed[1] || key == rows[i].allowed[2];
            call_bytes(key, rows[i].method, NULL, 0);
            if (may == (answer.status == ENSIGN_GRPC_PERMISSION_DENIED))
                fail_msg("%s by %s: status %d, %s", rows[i].method, key_names[key], answer.status,
                         answer.text);
            if (!may) assert_string_equal(answer.text, "not authorized to perform this action");
        }
    }
    /* one right each, neither implies the other; what is asked for comes before who asks */
    assert_int_equal(delete_topic(EDITOR, "", 2), ENSIGN_GRPC_PERMISSION_DENIED);
    assert_int_equal(delete_topic(EDITOR, "", 1), ENSIGN_GRPC_INVALID_ARGUMENT);
    assert_int_equal(delete_topic(READER, "", 1), ENSIGN_GRPC_PERMISSION_DENIED);
    delete_topic(NOBODY, "", 0);
    refused(ENSIGN_GRPC_INVALID_ARGUMENT, "invalid operation field");
}

static void broken_messages_are_refused(void **state)
{
    static const char *const methods[] = { "ListTopics", "CreateTopic", "RetrieveTopic", "DeleteTopic",
                                           "TopicNames", "TopicExists", "SetTopicPolicy", "Info", "Status" };
    static const uint8_t broken[] = { 0x0a, 0x7f };
    (void)state;

    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        call_bytes(ALL, methods[i], broken, sizeof broken);
        assert_int_equal(answer.status, ENSIGN_GRPC_INTERNAL);
        assert_non_null(strstr(answer.text, "failed to unmarshal"));
    }
}

static void wrong_arguments_get_the_words_of_the_service(void **state)
{
    static const char nowhere[] = "01GTSMQ3V8ASAPNCFEN378T8RD", bad[] = "not-a-ulid";
    static const policy_t datagram = { .strategy = 3 }, unknown = { .strategy = 0 },
                          no_keys = { .strategy = 4 }, no_fields = { .strategy = 6 },
                          fields = { .strategy = 6, .fields = { "a" } }, odd = { .strategy = 9 };
    made_t m = make("wrong");
    ensi_pb_topic_t t;
    (void)state;

    for (int operation = 1; operation <= 2; operation++) {
        delete_topic(ALL, " \t", operation);
        refused(ENSIGN_GRPC_INVALID_ARGUMENT, "missing id field");
        delete_topic(ALL, bad, operation);
        refused(ENSIGN_GRPC_INVALID_ARGUMENT, "invalid id field");
        delete_topic(ALL, nowhere, operation);
        refused(ENSIGN_GRPC_NOT_FOUND, "topic not found");
        delete_topic(STRANGER, m.text, operation);
        refused(ENSIGN_GRPC_NOT_FOUND, "topic not found");
    }
    set_policy(ALL, " ", &datagram, 0);
    refused(ENSIGN_GRPC_INVALID_ARGUMENT, "missing id field");
    set_policy(ALL, bad, &unknown, 0);
    refused(ENSIGN_GRPC_INVALID_ARGUMENT, "no policies defined to set on topic");
    set_policy(ALL, m.text, NULL, 0);
    refused(ENSIGN_GRPC_INVALID_ARGUMENT, "no policies defined to set on topic");
    set_policy(ALL, m.text, NULL, 1);
    refused(ENSIGN_GRPC_INVALID_ARGUMENT, "missing deduplication policy field");
    set_policy(ALL, bad, &datagram, 0);
    refused(ENSIGN_GRPC_INVALID_ARGUMENT, "invalid id field");
    set_policy(ALL, nowhere, &datagram, 0);
    refused(ENSIGN_GRPC_NOT_FOUND, "topic not found");
    set_policy(STRANGER, m.text, &datagram, 0);
    refused(ENSIGN_GRPC_NOT_FOUND, "topic not found");
    set_policy(ALL, m.text, &datagram, 2);
    refused(ENSIGN_GRPC_UNIMPLEMENTED,
            "changing the sharding strategy of a topic is currently not supported");
    set_policy(ALL, m.text, &no_keys, 0);
    refused(ENSIGN_GRPC_INVALID_ARGUMENT, "no keys specified for key based hashing");
    set_policy(ALL, m.text, &no_fields, 0);
    refused(ENSIGN_GRPC_INVALID_ARGUMENT, "no fields specified for field based hashing");
    set_policy(ALL, m.text, &fields, 0);
    refused(ENSIGN_GRPC_INVALID_ARGUMENT, "hash unique field is not implemented");
    set_policy(ALL, m.text, &odd, 0);
    refused(ENSIGN_GRPC_INVALID_ARGUMENT, "unknown deduplication strategy");
    assert_int_equal(retrieve(ALL, &m, &t), ENSIGN_GRPC_OK);
    assert_int_equal(t.status, ENSI_PB_TOPIC_STATE_READY);
    assert_int_equal(t.deduplication.strategy, ENSI_PB_DEDUPLICATION_STRATEGY_NONE);
}

static void a_topic_is_made_with_what_it_is_given(void **state)
{
    static const char *const wanted[] = { "a", "b" }, *const given[] = { "b", "a", "b" };
    uint8_t keys[256];
    ensi_pb_topic_t t, out;
    ensign_slice_t key;
    size_t at = 0;
    made_t m;
    (void)state;

    memset(&t, 0, sizeof t);
    t.name = text("given");
    t.has_deduplication = true;
    t.deduplication.strategy = ENSI_PB_DEDUPLICATION_STRATEGY_UNIQUE_KEY;
    t.deduplication.overwrite_duplicate = true;
    t.deduplication.keys = list_of(given, 3, ENSI_PB_DEDUPLICATION_KEYS_TAG, keys);
    t.status = ENSI_PB_TOPIC_STATE_PENDING;
    t.shards = 3;
    t.offset = 9;
    call(ALL, "CreateTopic", ensi_pb_topic_fields, &t);
    read_answer(ensi_pb_topic_fields, &out);
    m = made_of(&out);
    assert_int_equal(retrieve(READER, &m, &out), ENSIGN_GRPC_OK);
    assert_true(is(out.name, "given"));
    assert_int_equal(out.project_id.len, 16);
    assert_int_equal(out.status, ENSI_PB_TOPIC_STATE_READY);
    assert_int_equal(out.shards, 3);
    assert_int_equal(out.offset, 9);
    assert_true(out.has_created && out.created.seconds > 1600000000);
    assert_true(out.has_modified && out.modified.seconds == out.created.seconds);
    assert_int_equal(out.deduplication.strategy, ENSI_PB_DEDUPLICATION_STRATEGY_UNIQUE_KEY);
    assert_int_equal(out.deduplication.offset, ENSI_PB_DEDUPLICATION_OFFSET_POSITION_OFFSET_EARLIEST);
    assert_true(out.deduplication.overwrite_duplicate);
    for (size_t i = 0; i < 2; i++) {
        assert_true(ensi_pb_span_next(out.deduplication.keys, ENSI_PB_DEDUPLICATION_KEYS_TAG, &at, &key));
        assert_true(is(key, wanted[i]));
    }
    assert_false(ensi_pb_span_next(out.deduplication.keys, ENSI_PB_DEDUPLICATION_KEYS_TAG, &at, &key));
    assert_int_equal(create(ALL, "given", &out), ENSIGN_GRPC_ALREADY_EXISTS);
    assert_int_equal(create(STRANGER, "given", &out), ENSIGN_GRPC_OK);      /* names are a project's own */
    assert_int_equal(retrieve(STRANGER, &m, &out), ENSIGN_GRPC_NOT_FOUND);
}

static void exists(const char *name, const char *id, bool wanted, const char *query)
{
    ensi_pb_topic_name_t q;
    ensi_pb_topic_exists_info_t info;

    memset(&q, 0, sizeof q);
    q.name = text(name);
    q.topic_id = text(id);
    call(PUBLISHER, "TopicExists", ensi_pb_topic_name_fields, &q);
    read_answer(ensi_pb_topic_exists_info_fields, &info);
    assert_int_equal(info.exists, wanted);
    assert_true(is(info.query, query));
}

static void existence_by_name_by_id_by_both(void **state)
{
    made_t a = make("here"), b = make("there");
    ensi_pb_topic_name_t q;
    char query[128];
    (void)state;

    exists("here", "", true, "name=\"here\"");
    exists("nowhere", "", false, "name=\"nowhere\"");
    exists("a \"b\"\\\n\x01", "", false, "name=\"a \\\"b\\\"\\\\\\n\\x01\"");
    snprintf(query, sizeof query, "topic=\"%s\"", a.text);
    exists("", a.text, true, query);
    snprintf(query, sizeof query, "name=\"here\" and topic=\"%s\"", b.text);
    exists("here", b.text, true, query);    /* each is there: that is all that is asked */
    snprintf(query, sizeof query, "name=\"nowhere\" and topic=\"%s\"", b.text);
    exists("nowhere", b.text, false, query);

    memset(&q, 0, sizeof q);
    call(READER, "TopicExists", ensi_pb_topic_name_fields, &q);
    refused(ENSIGN_GRPC_INVALID_ARGUMENT, "must specify either or both topic name and id");
    q.project_id = text("no");
    call(READER, "TopicExists", ensi_pb_topic_name_fields, &q);
    refused(ENSIGN_GRPC_INVALID_ARGUMENT, "invalid project id field");
    q.project_id = text("01GTSMQ3V8ASAPNCFEN378T8RD");
    call(READER, "TopicExists", ensi_pb_topic_name_fields, &q);
    refused(ENSIGN_GRPC_PERMISSION_DENIED, "not authorized to perform this action");
    q.project_id.len = 0;
    q.topic_id = text("no");
    call(READER, "TopicExists", ensi_pb_topic_name_fields, &q);
    refused(ENSIGN_GRPC_INTERNAL, "unable to process topic exists request");
}

/* ------------------------------------------------------------------ pages */
static size_t count_pages(const char *method, uint32_t size, size_t *pages)
{
    ensi_pb_page_info_t info;
    ensi_pb_topics_page_t page; /* both kinds of pages have the same two fields */
    ensign_slice_t item;
    char token[256], before[17] = "";
    size_t total = 0, at;

    memset(&info, 0, sizeof info);
    info.page_size = size;
    for (*pages = 0;;) {
        call(READER, method, ensi_pb_page_info_fields, &info);
        read_answer(ensi_pb_topics_page_fields, &page);
        ++*pages;
        for (at = 0; ensi_pb_span_next(page.topics, ENSI_PB_TOPICS_PAGE_TOPICS_TAG, &at, &item); total++) {
            ensi_pb_topic_t t;
            if (strcmp(method, "ListTopics") != 0) continue;
            assert_true(ensi_pb_decode(ensi_pb_topic_fields, &t, item.ptr, item.len));
            assert_true(memcmp(t.id.ptr, before, 16) > 0);
            memcpy(before, t.id.ptr, 16);
        }
        if (page.next_page_token.len == 0) return total;
        assert_true(page.next_page_token.len < sizeof token);
        memcpy(token, page.next_page_token.ptr, page.next_page_token.len);
        info.next_page_token.ptr = (const uint8_t *)token;
        info.next_page_token.len = page.next_page_token.len;
    }
}

static void pages_of_topics_and_names(void **state)
{
    ensi_pb_page_info_t info;
    size_t all, pages;
    (void)state;

    make("paged");
    all = count_pages("ListTopics", 0, &pages);
    assert_true(all >= 2);
    assert_int_equal(pages, 1);
    assert_int_equal(count_pages("ListTopics", 1, &pages), all);
    assert_int_equal(pages, all);
    assert_int_equal(count_pages("TopicNames", 2, &pages), all);
    assert_int_equal(pages, (all + 1) / 2);
    memset(&info, 0, sizeof info);
    info.next_page_token = text("what");
    call(READER, "ListTopics", ensi_pb_page_info_fields, &info);
    refused(ENSIGN_GRPC_INTERNAL, "unable to process list topics request");
    call(READER, "TopicNames", ensi_pb_page_info_fields, &info);
    refused(ENSIGN_GRPC_INTERNAL, "unable to process list topic names request");
}

static void names_are_hashed(void **state)
{
    ensi_pb_topic_names_page_t page;
    ensi_pb_topic_name_t name;
    ensign_slice_t item;
    made_t m = make("testing.testapp.shipments");
    bool found = false;
    (void)state;

    call_bytes(NOBODY, "TopicNames", NULL, 0);
    read_answer(ensi_pb_topic_names_page_fields, &page);
    for (size_t at = 0; ensi_pb_span_next(page.topic_names, 1, &at, &item);) {
        assert_true(ensi_pb_decode(ensi_pb_topic_name_fields, &name, item.ptr, item.len));
        assert_int_equal(name.project_id.len, 26);
        if (!is(name.name, "aGdsSRMLeh-urMLeQu2XRQ")) continue;
        assert_true(is(name.topic_id, m.text));
        found = true;
    }
    assert_true(found);
}

/* ------------------------------------------------------------------ archive, destroy */
static void an_archived_topic_is_read_only(void **state)
{
    static const policy_t strict = { .strategy = 2 };
    static const sample_t event = { "x", { NULL, NULL } };
    made_t m = make("archived");
    ensign_publisher_t p = open_publisher("archived");
    ensi_pb_topic_t t;
    (void)state;

    assert_int_equal(publish(p, &event, 1), 0);
    for (int i = 0; i < 2; i++) {       /* again makes no difference */
        delete_topic(EDITOR, m.text, ENSI_PB_TOPIC_MOD_OPERATION_ARCHIVE);
        says_state(&m, ENSI_PB_TOPIC_STATE_READONLY);
    }
    assert_int_equal(retrieve(ALL, &m, &t), ENSIGN_GRPC_OK);
    assert_true(t.readonly);
    assert_int_equal(t.status, ENSI_PB_TOPIC_STATE_READY);
    assert_true(t.modified.seconds > t.created.seconds ||
                (t.modified.seconds == t.created.seconds && t.modified.nanos > t.created.nanos));
    assert_int_equal(publish(p, &event, 1), ENSIGN_NACK_TOPIC_ARCHIVED);
    close_publisher(p);
    set_policy(ALL, m.text, &strict, 0);
    refused(ENSIGN_GRPC_FAILED_PRECONDITION, "cannot change policies of an archived topic");
    stored("archived", "x");
}

static void is_destroyed(const made_t *m)
{
    ensi_pb_topic_t t;
    delete_topic(ALL, m->text, ENSI_PB_TOPIC_MOD_OPERATION_DESTROY);
    says_state(m, ENSI_PB_TOPIC_STATE_DELETING);
    for (int i = 0; i < TURNS; i++) {
        if (retrieve(ALL, m, &t) == ENSIGN_GRPC_NOT_FOUND) return;
        assert_int_equal(t.status, ENSI_PB_TOPIC_STATE_READY);
    }
    fail_msg("the topic does not go");
}

static void a_destroyed_topic_goes_with_its_events(void **state)
{
    static const sample_t event = { "x", { NULL, NULL } };
    made_t m = make("doomed"), again;
    ensign_publisher_t p = open_publisher("doomed");
    int code;
    (void)state;

    assert_int_equal(publish(p, &event, 1), 0);
    is_destroyed(&m);
    code = publish(p, &event, 1);
    assert_true(code == ENSIGN_NACK_TOPIC_UNKNOWN || code == ENSIGN_NACK_TOPIC_DELETED);
    close_publisher(p);
    delete_topic(ALL, m.text, ENSI_PB_TOPIC_MOD_OPERATION_DESTROY);
    refused(ENSIGN_GRPC_NOT_FOUND, "topic not found");
    exists("doomed", "", false, "name=\"doomed\"");
    again = make("doomed");             /* the name is free */
    assert_memory_not_equal(again.id.b, m.id.b, 16);
    stored("doomed", "");
    is_destroyed(&again);
}

/* ------------------------------------------------------------------ deduplication */
static const sample_t five[] = {
    { "a", { "k", "1" } }, { "b", { "k", "1" } }, { "a", { "k", "1" } }, { "a", { "k", "2" } },
    { "b", { NULL, NULL } },
};

static void each_strategy_marks_its_duplicates(void **state)
{
    static const struct { policy_t policy; const char *stored; } rows[] = {
        { { .strategy = 2 }, "a b *0 a b" },
        { { .strategy = 3 }, "a b *0 *0 *1" },
        { { .strategy = 4, .keys = { "k" } }, "a b *0 a b" },
        { { .strategy = 5, .keys = { "k" } }, "a *0b *0 a b" },
        { { .strategy = 3, .offset = 2 }, "*3 *4 *3 a b" },
        { { .strategy = 5, .keys = { "z" } }, "a *0b *0 *0 *0b" },
    };
    static const policy_t none = { .strategy = 1 };
    (void)state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char name[16];
        made_t m;
        snprintf(name, sizeof name, "five%zu", i);
        m = make(name);
        publish_all(name, five, 5);
        run_policy(&m, &rows[i].policy);
        stored(name, rows[i].stored);
        run_policy(&m, &none);
        stored(name, "a b a a b");
    }
}

/* From policy to policy: first all duplicates are made whole, with what their originals had beyond them. */
static void policies_follow_each_other(void **state)
{
    static const struct { policy_t policy; const char *stored; } rows[] = {
        { { .strategy = 2 }, "a b *0 a b" },
        { { .strategy = 3 }, "a b *0 *0 *1" },
        { { .strategy = 4, .keys = { "k" } }, "a b *0 a *1" },
        { { .strategy = 3, .offset = 2 }, "*3 *4 *3 a b" },
        { { .strategy = 5, .keys = { "k" } }, "a *0b *0 a *0b" },
    };
    made_t m = make("follow");
    (void)state;

    publish_all("follow", five, 5);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        run_policy(&m, &rows[i].policy);
        stored("follow", rows[i].stored);
    }
}

/* What differs is lost when duplicates are overwritten; changing that alone is a change here. */
static void overwriting_loses_what_differs(void **state)
{
    static const policy_t by_key = { .strategy = 5, .keys = { "k" } };
    static const policy_t over = { .strategy = 5, .keys = { "k", "k" }, .overwrite = true };
    static const policy_t none = { .strategy = 1 };
    made_t m = make("over");
    (void)state;

    publish_all("over", five, 2);
    run_policy(&m, &by_key);
    stored("over", "a *0b");
    run_policy(&m, &over);
    stored("over", "a *0");
    run_policy(&m, &none);
    stored("over", "a a");
}

static void the_same_policy_changes_nothing(void **state)
{
    static const policy_t keys = { .strategy = 4, .keys = { "b", "a" } };
    static const policy_t same = { .strategy = 4, .offset = 1, .keys = { "a", "b", "a" }, .fields = { "f" } };
    static const policy_t none = { .strategy = 1, .keys = { "x" } };
    made_t m = make("same");
    (void)state;

    set_policy(EDITOR, m.text, &none, 0);
    says_state(&m, ENSI_PB_TOPIC_STATE_READY);
    run_policy(&m, &keys);
    set_policy(EDITOR, m.text, &same, 0);
    says_state(&m, ENSI_PB_TOPIC_STATE_READY);
}

static void later_events_are_compared_when_they_come(void **state)
{
    static const policy_t datagram = { .strategy = 3 };
    made_t m = make("later");
    (void)state;

    publish_all("later", five, 1);
    run_policy(&m, &datagram);
    publish_all("later", five, 1);
    stored("later", "a *0");
}

/* ------------------------------------------------------------------ numbers */
static ensign_slice_t info_of(const made_t *filter, ensi_pb_project_info_t *project,
                              ensi_pb_topic_info_t *topic)
{
    ensi_pb_info_request_t request;
    uint8_t room[32];
    ensign_slice_t id, item = { NULL, 0 };
    size_t at = 0;

    id.ptr = filter->id.b;
    id.len = 16;
    request.topics.ptr = room;
    request.topics.len = (size_t)(ensi_pb_put_bytes(room, ENSI_PB_INFO_REQUEST_TOPICS_TAG, id) - room);
    call(ALL, "Info", ensi_pb_info_request_fields, &request);
    read_answer(ensi_pb_project_info_fields, project);
    if (!ensi_pb_span_next(project->topics, ENSI_PB_PROJECT_INFO_TOPICS_TAG, &at, &item)) return item;
    assert_true(ensi_pb_decode(ensi_pb_topic_info_fields, topic, item.ptr, item.len));
    assert_memory_equal(topic->topic_id.ptr, filter->id.b, 16);
    return item;
}

/* Events and duplicates of the type's number `nth`. */
static void has_type(const ensi_pb_topic_info_t *t, size_t nth, int32_t mimetype, uint64_t events,
                     uint64_t duplicates)
{
    ensi_pb_event_type_info_t info;
    ensign_slice_t item;
    size_t at = 0;

    for (size_t i = 0; i <= nth; i++)
        assert_true(ensi_pb_span_next(t->types, ENSI_PB_TOPIC_INFO_TYPES_TAG, &at, &item));
    assert_true(ensi_pb_decode(ensi_pb_event_type_info_fields, &info, item.ptr, item.len));
    assert_true(info.has_type && is(info.type.name, "Unspecified"));
    assert_int_equal(info.mimetype, mimetype);
    assert_int_equal(info.events, events);
    assert_int_equal(info.duplicates, duplicates);
}

static void info_counts_what_is_there_now(void **state)
{
    static const policy_t datagram = { .strategy = 3 }, none = { .strategy = 1 };
    static const sample_t other = { "{}", { NULL, NULL } };
    made_t m = make("counted");
    ensign_publisher_t p = open_publisher("counted");
    ensi_pb_project_info_t project;
    ensi_pb_topic_info_t t;
    uint64_t size;
    (void)state;

    info_of(&m, &project, &t);
    assert_int_equal(t.events, 0);
    for (int i = 0; i < 3; i++) assert_int_equal(publish(p, &five[0], ENSIGN_MIME_TEXT_PLAIN), 0);
    assert_int_equal(publish(p, &other, ENSIGN_MIME_APPLICATION_JSON), 0);
    info_of(&m, &project, &t);
    assert_int_equal(project.num_topics, 1);
    assert_int_equal(project.num_readonly_topics, 0);
    assert_int_equal(project.events, 4);
    assert_int_equal(t.events, 4);
    assert_int_equal(t.duplicates, 0);
    assert_int_equal(t.event_offset_id.len, 10);
    assert_true(t.has_modified);
    size = t.data_size_bytes;
    assert_true(size > 4 * 40 && size < 4 * 400);
    assert_int_equal(project.data_size_bytes, size);
    has_type(&t, 0, ENSIGN_MIME_TEXT_PLAIN, 3, 0);
    has_type(&t, 1, ENSIGN_MIME_APPLICATION_JSON, 1, 0);

    run_policy(&m, &datagram);
    assert_int_equal(publish(p, &five[0], ENSIGN_MIME_TEXT_PLAIN), 0);
    close_publisher(p);
    info_of(&m, &project, &t);
    assert_int_equal(t.events, 5);
    assert_int_equal(t.duplicates, 3);
    assert_int_equal(project.duplicates, 3);
    assert_true(t.data_size_bytes > size);      /* shrinking does not count */
    has_type(&t, 0, ENSIGN_MIME_TEXT_PLAIN, 4, 3);
    run_policy(&m, &none);
    info_of(&m, &project, &t);
    assert_int_equal(t.duplicates, 0);
    has_type(&t, 0, ENSIGN_MIME_TEXT_PLAIN, 4, 0);
    delete_topic(ALL, m.text, ENSI_PB_TOPIC_MOD_OPERATION_ARCHIVE);
    info_of(&m, &project, &t);
    assert_int_equal(project.num_readonly_topics, 1);
}

static void info_is_filtered(void **state)
{
    static const uint8_t bad[] = { 0x0a, 1, 'x' };
    ensi_pb_project_info_t project;
    ensi_pb_topic_info_t t;
    made_t m = make("filtered");
    size_t pages;
    (void)state;

    call_bytes(ALL, "Info", bad, sizeof bad);
    refused(ENSIGN_GRPC_INVALID_ARGUMENT, "could not parse topic id in info request filter");
    call_bytes(ALL, "Info", NULL, 0);
    read_answer(ensi_pb_project_info_fields, &project);
    assert_int_equal(project.num_topics, count_pages("ListTopics", 0, &pages));
    m.id.b[15] ^= 1;                /* unknown ones are ignored */
    assert_int_equal(info_of(&m, &project, &t).len, 0);
    assert_int_equal(project.num_topics, 0);
    assert_int_equal(project.project_id.len, 16);
}

/* ------------------------------------------------------------------ restart */
static void restart(int signal)
{
    stop_server(signal);
    start_server();
}

static void publish_many(const char *topic)
{
    ensign_publisher_t p = open_publisher(topic);
    const ensign_notice_t *n;
    ensign_event_t e;
    size_t put = 0, acked = 0;

    while (acked < MANY) {
        char data[16];
        int rc = ENSIGN_OK;
        memset(&e, 0, sizeof e);
        snprintf(data, sizeof data, "%zu", put % 100);
        e.data = text(data);
        while (put < MANY && (rc = ensign_publish(clients[ALL], p, &e)) == ENSIGN_OK) {
            put++;
            snprintf(data, sizeof data, "%zu", put % 100);
            e.data = text(data);
        }
        assert_true(rc >= 0);
        n = next(clients[ALL], p.id);
        acked += n->type == ENSIGN_NOTICE_ACK;
        assert_false(n->last);
    }
    close_publisher(p);
}

/* The server is killed with the job in hand, at whatever place that is; the next one ends it. */
static void jobs_go_on_after_a_crash(void **state)
{
    static const policy_t datagram = { .strategy = 3, .offset = 2 };
    ensi_pb_project_info_t project;
    ensi_pb_topic_info_t info;
    ensi_pb_topic_t t;
    made_t m = make("crash");
    int rc = ENSIGN_GRPC_OK;
    (void)state;

    publish_many("crash");
    assert_int_equal(set_policy(ALL, m.text, &datagram, 0), ENSIGN_GRPC_OK);
    restart(SIGKILL);
    becomes_ready(&m, &t);
    info_of(&m, &project, &info);
    assert_int_equal(info.events, MANY);
    assert_int_equal(info.duplicates, MANY - 100);
    delete_topic(ALL, m.text, ENSI_PB_TOPIC_MOD_OPERATION_DESTROY);
    says_state(&m, ENSI_PB_TOPIC_STATE_DELETING);
    restart(SIGKILL);
    for (int i = 0; i < TURNS && rc == ENSIGN_GRPC_OK; i++) rc = retrieve(ALL, &m, &t);
    assert_int_equal(rc, ENSIGN_GRPC_NOT_FOUND);
}

static void changes_last(void **state)
{
    static const policy_t datagram = { .strategy = 3 };
    made_t archived = make("lasting"), gone = make("goner");
    ensi_pb_topic_t t;
    (void)state;

    publish_all("lasting", five, 5);
    run_policy(&archived, &datagram);
    delete_topic(ALL, archived.text, ENSI_PB_TOPIC_MOD_OPERATION_ARCHIVE);
    is_destroyed(&gone);
    restart(SIGTERM);
    assert_int_equal(retrieve(ALL, &archived, &t), ENSIGN_GRPC_OK);
    assert_true(t.readonly);
    assert_int_equal(t.deduplication.strategy, ENSI_PB_DEDUPLICATION_STRATEGY_DATAGRAM);
    assert_int_equal(retrieve(ALL, &gone, &t), ENSIGN_GRPC_NOT_FOUND);
    stored("lasting", "a b *0 *0 *1");
}

static void status_tells_health_and_version(void **state)
{
    ensi_pb_service_state_t s;
    (void)state;

    call_bytes(NOBODY, "Status", NULL, 0);
    read_answer(ensi_pb_service_state_fields, &s);
    assert_int_equal(s.status, ENSI_PB_SERVICE_STATE_STATUS_HEALTHY);
    assert_true(s.version.len > 6 && memcmp(s.version.ptr, "0.12.9", 6) == 0);
    assert_true(s.has_uptime && s.has_not_before && s.has_not_after);
    assert_true(s.not_after.seconds - s.not_before.seconds >= 3539);
}

/* ------------------------------------------------------------------ --strict: last, with another server */
static void strict_has_the_oddities_of_the_service(void **state)
{
    static const policy_t latest = { .strategy = 3, .offset = 2 }, none = { .strategy = 1 };
    static const policy_t over = { .strategy = 3, .offset = 2, .overwrite = true };
    static const policy_t fields = { .strategy = 6, .fields = { "f" } };
    ensign_publisher_t p;
    made_t m;
    (void)state;

    stop_server(SIGTERM);
    make_folder(strict_folder, keys_text);
    start_server();
    m = make("odd");
    publish_all("odd", five, 5);
    set_policy(ALL, m.text, NULL, 1);           /* a panic, which looks like this */
    assert_int_equal(answer.status, ENSIGN_GRPC_OK);
    assert_int_equal(answer.len, 0);
    run_policy(&m, &latest);
    stored("odd", "a b *0 *0 b");               /* the first is the original, the newest is not looked at */
    set_policy(ALL, m.text, &over, 0);          /* no change */
    says_state(&m, ENSI_PB_TOPIC_STATE_READY);
    run_policy(&m, &none);
    stored("odd", "a b *0a *0a b");             /* whole, and still marked */
    delete_topic(ALL, m.text, ENSI_PB_TOPIC_MOD_OPERATION_ARCHIVE);
    p = open_publisher("odd");
    assert_int_equal(publish(p, &five[0], 1), 0);
    close_publisher(p);

    m = make("orphaned");
    p = open_publisher("orphaned");
    is_destroyed(&m);
    assert_int_equal(publish(p, &five[0], 1), 0);   /* for nobody */
    close_publisher(p);

    m = make("stuck");
    publish_all("stuck", five, 2);
    set_policy(ALL, m.text, &fields, 0);
    says_state(&m, ENSI_PB_TOPIC_STATE_PENDING);
    for (int i = 0; i < 50; i++) {
        ensi_pb_topic_t t;
        assert_int_equal(retrieve(ALL, &m, &t), ENSIGN_GRPC_OK);
        assert_int_equal(t.status, ENSI_PB_TOPIC_STATE_PENDING);
    }
    delete_topic(ALL, m.text, ENSI_PB_TOPIC_MOD_OPERATION_DESTROY);
    refused(ENSIGN_GRPC_FAILED_PRECONDITION,
            "cannot archive or destroy a topic that is in the PENDING state");
    set_policy(ALL, m.text, &none, 0);
    refused(ENSIGN_GRPC_FAILED_PRECONDITION, "cannot change a topic that is in the PENDING state");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_without_the_right_are_refused),
        cmocka_unit_test(broken_messages_are_refused),
        cmocka_unit_test(wrong_arguments_get_the_words_of_the_service),
        cmocka_unit_test(a_topic_is_made_with_what_it_is_given),
        cmocka_unit_test(existence_by_name_by_id_by_both),
        cmocka_unit_test(pages_of_topics_and_names),
        cmocka_unit_test(names_are_hashed),
        cmocka_unit_test(an_archived_topic_is_read_only),
        cmocka_unit_test(a_destroyed_topic_goes_with_its_events),
        cmocka_unit_test(each_strategy_marks_its_duplicates),
        cmocka_unit_test(policies_follow_each_other),
        cmocka_unit_test(overwriting_loses_what_differs),
        cmocka_unit_test(the_same_policy_changes_nothing),
        cmocka_unit_test(later_events_are_compared_when_they_come),
        cmocka_unit_test(info_counts_what_is_there_now),
        cmocka_unit_test(info_is_filtered),
        cmocka_unit_test(changes_last),
        cmocka_unit_test(jobs_go_on_after_a_crash),
        cmocka_unit_test(status_tells_health_and_version),
        cmocka_unit_test(strict_has_the_oddities_of_the_service),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
