/* Topics that a stream's map does not have: asked for, made, and published to on a stream opened anew. */
#include "service.h"

/* The project as the server has it. A stream may publish to the topics that there were when it opened. */
enum { TOPICS_MAX = 40, SEEN_MAX = 400 };
typedef struct project_t {
    const char *names[TOPICS_MAX];
    int count;
    unsigned asked, made, opened;       /* TopicExists, CreateTopic, open_stream */
    int exists_status, create_status;   /* what these answer; 0: by the project */
    unsigned fail;                      /* so many of them answer UNAVAILABLE first */
    bool mute;                          /* they get no answer */
    bool phantom;                       /* TopicExists says yes to everything */
    bool hold;                          /* acks are kept back */
    bool forgets;                       /* what CreateTopic made is gone when its answer is sent */
    heard_t seen[SEEN_MAX];
    size_t seen_count;
} project_t;

static project_t project;

static void topic_id(int i, uint8_t id[16])
{
    memset(id, 0, 16);
    memcpy(id, "topic", 5);
    id[15] = (uint8_t)(i + 1);
}

static int topic_named(ensign_slice_t name)
{
    for (int i = 0; i < project.count; i++)
        if (name.len == strlen(project.names[i]) && memcmp(name.ptr, project.names[i], name.len) == 0) return i;
    return -1;
}

static void topic_made(const char *name)
{
    assert_true(project.count < TOPICS_MAX);
    project.names[project.count++] = name;
}

static void open_publish(stream_t *s)
{
    bytes_t entry = {0}, ready = {0}, reply = {0};
    project.opened++;
    if (project.count == 0) {
        peer_finish(s, ENSIGN_GRPC_FAILED_PRECONDITION, "no topics available", NULL);
        return;
    }
    for (int i = 0; i < project.count; i++) {
        uint8_t id[16];
        topic_id(i, id);
        enc_text(&entry, 1, project.names[i]);
        enc_bytes(&entry, 2, id, 16);
        enc_message(&ready, 3, &entry);
    }
    enc_message(&reply, 3, &ready);
    peer_send(s, &reply);
    s->stage = project.count;
}

static void take_event(world_t *w, stream_t *s, ensign_slice_t wrapper)
{
    heard_t *h = &project.seen[project.seen_count++];
    ensign_slice_t f;
    int i;
    if (project.seen_count > SEEN_MAX || !dec_field(wrapper, 16, &f) || f.len != 16) world_fail(w, "bad event");
    memset(h, 0, sizeof *h);
    h->stream = s;
    memcpy(h->id, f.ptr, 16);
    if (!dec_field(wrapper, 2, &f) || f.len != 16) world_fail(w, "an event without a topic");
    memcpy(h->topic, f.ptr, 16);
    i = h->topic[15] - 1;
    if (memcmp(h->topic, "topic", 5) != 0 || i >= s->stage) service_nack(s, h->id, 16, 2, "");
    else if (!project.hold) service_ack(s, h->id, 16, 7);
    h->answered = !project.hold;
}

static bool failing(stream_t *s)
{
    if (project.mute) return true;
    if (project.fail == 0) return false;
    project.fail--;
    peer_finish(s, ENSIGN_GRPC_UNAVAILABLE, "later", NULL);
    return true;
}

static void answer_exists(stream_t *s, ensign_slice_t m)
{
    bytes_t reply = {0};
    ensign_slice_t name = {0}, id = {0};
    bool there = false;
    project.asked++;
    if (failing(s)) return;
    if (project.exists_status) {
        peer_finish(s, project.exists_status, "no", NULL);
        return;
    }
    if (dec_field(m, 3, &name)) there = topic_named(name) >= 0;
    if (dec_field(m, 1, &id)) {
        ensign_ulid_t u;
        assert_int_equal(ensign_ulid_parse(id, &u), ENSIGN_OK);
        there = memcmp(u.b, "topic", 5) == 0 && u.b[15] <= project.count;
    }
    enc_text(&reply, 1, "looked");
    if (there || project.phantom) enc_uint(&reply, 2, 1);
    peer_send(s, &reply);
    peer_finish(s, 0, NULL, NULL);
}

static void answer_create(stream_t *s, ensign_slice_t m)
{
    bytes_t reply = {0};
    ensign_slice_t name;
    static char kept[TOPICS_MAX][32];
    uint8_t id[16];
    project.made++;
    if (failing(s)) return;
    assert_true(dec_field(m, 3, &name) && name.len < sizeof kept[0]);
    if (project.create_status || topic_named(name) >= 0) {
        peer_finish(s, project.create_status ? project.create_status : ENSIGN_GRPC_ALREADY_EXISTS, "no", NULL);
        return;
    }
    snprintf(kept[project.count], sizeof kept[0], "%.*s", (int)name.len, (const char *)name.ptr);
    topic_id(project.count, id);
    service_topic(&reply, 0, kept[project.count], id);
    topic_made(kept[project.count]);
    if (project.forgets) project.count = 0;
    peer_send(s, &reply);
    peer_finish(s, 0, NULL, NULL);
}

static void open_subscribe(stream_t *s)
{
    project.opened++;
    if (project.count == 0) peer_finish(s, ENSIGN_GRPC_FAILED_PRECONDITION, "no topics available", NULL);
    else service_ready(s, 2);
}

static void on_message(world_t *w, stream_t *s, ensign_slice_t m)
{
    const char *path = peer_field(s, ":path");
    ensign_slice_t f;
    if (strstr(path, "/TopicExists")) answer_exists(s, m);
    else if (strstr(path, "/CreateTopic")) answer_create(s, m);
    else if (strstr(path, "/Subscribe")) open_subscribe(s);
    else if (!strstr(path, "/Publish")) world_fail(w, "%s is not to be called", path);
    else if (dec_field(m, 2, &f)) open_publish(s);
    else if (dec_field(m, 1, &f)) take_event(w, s, f);
    else world_fail(w, "neither an event nor open_stream");
}

static void on_half(world_t *w, stream_t *s)
{
    (void)w;
    if (strstr(peer_field(s, ":path"), "/Publish") && !s->done) service_close(s);
}

static void begin(world_t *w, const char *first)
{
    memset(&project, 0, sizeof project);
    if (first) topic_made(first);
    w->on_message = on_message;
    w->on_half = on_half;
    world_create(w);
}

static ensign_publisher_t publisher(world_t *w, bool ensure)
{
    ensign_publisher_desc_t d;
    ensign_publisher_t p;
    memset(&d, 0, sizeof d);
    d.topic = "first";
    d.ensure_topic = ensure;
    p = ensign_publisher_open(w->client, &d);
    assert_int_not_equal(p.id, 0);
    return p;
}

static void put(world_t *w, ensign_publisher_t p, const char *topic, uint64_t tag)
{
    ensign_event_t e;
    memset(&e, 0, sizeof e);
    e.topic = topic;
    e.data = text_slice("x");
    e.tag = tag;
    assert_int_equal(ensign_publish(w->client, p, &e), ENSIGN_OK);
}

static void acked(world_t *w, ensign_publisher_t p, uint64_t tag)
{
    const ensign_notice_t *n = world_next(w, p.id);
    while (n->type == ENSIGN_NOTICE_OPEN) n = world_next(w, p.id);
    if (n->type != ENSIGN_NOTICE_ACK || n->as.ack.tag != tag)
        world_fail(w, "notice %d, not the ACK of %d: %s", (int)n->type, (int)tag, n->error ? n->error->text : "");
}

static const ensign_notice_t *nacked(world_t *w, ensign_publisher_t p, uint64_t tag, int code)
{
    const ensign_notice_t *n = world_await(w, p.id, ENSIGN_NOTICE_NACK);
    assert_int_equal(n->as.nack.tag, tag);
    assert_int_equal(n->as.nack.code, code);
    assert_int_equal(n->as.nack.stored, ENSIGN_STORED_NO);
    return n;
}

/* Every event came to the server once, and to the topic that was meant: tag modulo the number of topics. */
static void each_once(world_t *w, size_t count)
{
    assert_int_equal(project.seen_count, count);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            if (memcmp(project.seen[i].id, project.seen[k].id, 16) == 0) world_fail(w, "one event came twice");
}

/* ------------------------------------------------------------------ made by this client */
SCRIPT(a_topic_that_this_client_made)
{
    ensign_publisher_t p;
    ensign_request_t r;
    begin(w, "first");
    p = publisher(w, false);
    put(w, p, NULL, 0);
    acked(w, p, 0);
    r = ensign_topic_create(w->client, "second", NULL, NULL);
    world_expect(w, r.id, ENSIGN_NOTICE_TOPIC);
    for (uint64_t tag = 1; tag <= 40; tag++) put(w, p, tag % 2 ? "second" : "first", tag);
    for (uint64_t tag = 1; tag <= 40; tag++) acked(w, p, tag);
    assert_int_equal(project.asked, 0);         /* the cache knew */
    assert_int_equal(project.opened, 2);
    each_once(w, 41);
    for (size_t i = 1; i <= 40; i++) assert_int_equal(project.seen[i].topic[15], i % 2 ? 2 : 1);
}

/* What is in flight is answered on the stream that it was sent on, before that one ends. */
SCRIPT(nothing_in_flight_is_lost)
{
    ensign_publisher_t p;
    begin(w, "first");
    project.hold = true;
    p = publisher(w, false);
    for (uint64_t tag = 0; tag < 5; tag++) put(w, p, NULL, tag);
    world_until(w, project.seen_count == 5);
    topic_made("second");
    put(w, p, "second", 5);
    put(w, p, "first", 6);
    world_pass(w, 500);
    assert_int_equal(project.asked, 1);
    assert_int_equal(project.opened, 1);
    assert_int_equal(project.seen_count, 5);
    assert_false(project.seen[0].stream->half_closed);
    for (size_t i = 0; i < 5; i++) service_ack(project.seen[i].stream, project.seen[i].id, 16, 1);
    project.hold = false;
    for (uint64_t tag = 0; tag < 7; tag++) acked(w, p, tag);
    assert_true(project.seen[0].stream->half_closed);
    assert_int_equal(project.opened, 2);
    each_once(w, 7);
}

SCRIPT(without_a_cache_it_is_asked_for)
{
    ensign_publisher_t p;
    ensign_request_t r;
    w->desc.topic_cache = ENSIGN_OFF;
    begin(w, "first");
    p = publisher(w, false);
    put(w, p, NULL, 0);
    acked(w, p, 0);
    r = ensign_topic_create(w->client, "second", NULL, NULL);
    world_expect(w, r.id, ENSIGN_NOTICE_TOPIC);
    put(w, p, "second", 1);
    acked(w, p, 1);
    assert_int_equal(project.asked, 1);
}

/* ------------------------------------------------------------------ made elsewhere, or not at all */
SCRIPT(a_name_that_is_not_there_is_asked_for_once_a_second)
{
    ensign_publisher_t p;
    begin(w, "first");
    p = publisher(w, false);
    put(w, p, NULL, 0);
    acked(w, p, 0);
    for (uint64_t tag = 1; tag <= 20; tag++) put(w, p, tag % 2 ? "nowhere" : "first", tag);
    for (int acks = 0, nacks = 0; acks + nacks < 20;) { /* each kind in order; nacks overtake */
        const ensign_notice_t *n = world_next(w, p.id);
        if (n->type == ENSIGN_NOTICE_ACK) {
            assert_int_equal(n->as.ack.tag, 2 * ++acks);
            continue;
        }
        assert_int_equal(n->type, ENSIGN_NOTICE_NACK);
        assert_int_equal(n->as.nack.tag, 2 * nacks++ + 1);
        assert_int_equal(n->as.nack.code, ENSIGN_NACK_TOPIC_UNKNOWN);
        assert_non_null(strstr(n->error->text, "nowhere"));
    }
    assert_int_equal(project.asked, 1);
    assert_int_equal(project.opened, 1);
    world_pass(w, 1100);
    topic_made("nowhere");
    put(w, p, "nowhere", 21);
    acked(w, p, 21);
    assert_int_equal(project.asked, 2);
    assert_int_equal(project.opened, 2);
}

/* Ids, as such and as text. */
SCRIPT(an_id_that_the_map_lacks)
{
    ensign_publisher_t p;
    ensign_event_t e;
    char text[27];
    begin(w, "first");
    p = publisher(w, false);
    put(w, p, NULL, 0);
    acked(w, p, 0);
    topic_made("second");
    memset(&e, 0, sizeof e);
    topic_id(1, e.to_topic_id.b);
    e.tag = 1;
    ensign_ulid_text(e.to_topic_id, text);
    assert_int_equal(ensign_publish(w->client, p, &e), ENSIGN_OK);
    acked(w, p, 1);
    put(w, p, text, 2);
    acked(w, p, 2);
    assert_int_equal(project.seen[2].topic[15], 2);
    assert_int_equal(project.asked, 1);
    memset(e.to_topic_id.b, 9, sizeof e.to_topic_id.b);
    e.tag = 3;
    assert_int_equal(ensign_publish(w->client, p, &e), ENSIGN_OK);
    nacked(w, p, 3, ENSIGN_NACK_TOPIC_UNKNOWN);
    assert_int_equal(project.seen_count, 3);
}

/* A key that may publish and not look: the next stream's map tells. */
SCRIPT(a_key_that_may_not_look)
{
    ensign_publisher_t p;
    begin(w, "first");
    project.exists_status = ENSIGN_GRPC_PERMISSION_DENIED;
    p = publisher(w, false);
    put(w, p, NULL, 0);
    acked(w, p, 0);
    topic_made("second");
    put(w, p, "second", 1);
    acked(w, p, 1);
    put(w, p, "nowhere", 2);
    nacked(w, p, 2, ENSIGN_NACK_TOPIC_UNKNOWN);
    assert_int_equal(project.opened, 3);
    put(w, p, NULL, 3);
    acked(w, p, 3);
}

/* A question that fails is asked again, and not for ever. */
SCRIPT(a_question_that_fails)
{
    ensign_publisher_t p;
    begin(w, "first");
    p = publisher(w, false);
    put(w, p, NULL, 0);
    acked(w, p, 0);
    topic_made("second");
    project.fail = 3;
    put(w, p, "second", 1);
    acked(w, p, 1);
    assert_int_equal(project.asked, 4);
    project.fail = 100;
    put(w, p, "third", 2);
    nacked(w, p, 2, ENSIGN_NACK_TOPIC_UNKNOWN);
    assert_int_equal(project.asked, 9);
    project.fail = 0;
    project.mute = true;
    put(w, p, "fourth", 3);
    put(w, p, NULL, 4);
    world_pass(w, 1000);
    project.mute = false;
    topic_made("fourth");
    acked(w, p, 3);                 /* after request_timeout_ms, or ack_timeout_ms */
    acked(w, p, 4);
}

SCRIPT(the_connection_breaks_while_it_is_asked)
{
    ensign_publisher_t p;
    begin(w, "first");
    p = publisher(w, false);
    put(w, p, NULL, 0);
    acked(w, p, 0);
    topic_made("second");
    project.mute = true;
    put(w, p, "second", 1);
    world_until(w, project.asked == 1);
    world_cut(w, ENSIGN_LINK_RPC, 0);
    project.mute = false;
    acked(w, p, 1);
    assert_int_equal(project.asked, 1);     /* the new stream's map had it */
    each_once(w, 2);
}

SCRIPT(closing_while_it_is_asked)
{
    ensign_publisher_t p;
    begin(w, "first");
    p = publisher(w, false);
    put(w, p, NULL, 0);
    acked(w, p, 0);
    project.mute = true;
    put(w, p, "second", 1);
    world_until(w, project.asked == 1);
    assert_int_equal(ensign_close(w->client, p.id, 300), ENSIGN_OK);
    nacked(w, p, 1, ENSIGN_NACK_NOT_SENT);
    assert_int_equal(world_end(w, p.id, ENSIGN_GRPC_CANCELLED)->error->code, ENSIGN_E_CANCELLED);
}

SCRIPT(forgetting_while_it_is_asked)
{
    ensign_publisher_t p;
    begin(w, "first");
    p = publisher(w, false);
    put(w, p, NULL, 0);
    acked(w, p, 0);
    project.mute = true;
    put(w, p, "second", 1);
    world_until(w, project.asked == 1);
    assert_int_equal(ensign_forget(w->client, p.id), ENSIGN_OK);
    world_settle(w);
    for (size_t i = 0; i < w->stream_count; i++)
        if (!w->streams[i]->done) assert_true(w->streams[i]->reset);
}

/* ------------------------------------------------------------------ ensure_topic */
SCRIPT(topics_are_made_on_the_way)
{
    static const char *const topics[] = { "first", "second", "third" };
    ensign_publisher_t p;
    begin(w, "first");
    p = publisher(w, true);
    for (uint64_t tag = 0; tag < 30; tag++) put(w, p, topics[tag % 3], tag);
    for (uint64_t tag = 0; tag < 30; tag++) acked(w, p, tag);
    assert_int_equal(project.made, 2);
    assert_int_equal(project.asked, 0);
    assert_int_equal(project.count, 3);
    each_once(w, 30);
    for (size_t i = 0; i < 30; i++) assert_int_equal(project.seen[i].topic[15], i % 3 + 1);
}

SCRIPT(topics_are_made_in_an_empty_project)
{
    ensign_publisher_t p;
    begin(w, NULL);
    p = publisher(w, true);
    put(w, p, NULL, 0);
    put(w, p, "second", 1);
    acked(w, p, 0);
    acked(w, p, 1);
    assert_int_equal(project.made, 2);
    each_once(w, 2);
}

SCRIPT(somebody_else_made_it_first)
{
    ensign_publisher_t p;
    begin(w, "first");
    p = publisher(w, true);
    put(w, p, NULL, 0);
    acked(w, p, 0);
    topic_made("second");
    put(w, p, "second", 1);
    acked(w, p, 1);
    assert_int_equal(project.made, 1);
    assert_int_equal(project.opened, 2);
}

SCRIPT(a_topic_that_may_not_be_made)
{
    static const struct { int status, code; } table[] = {
        { ENSIGN_GRPC_PERMISSION_DENIED, ENSIGN_NACK_PERMISSION_DENIED },
        { ENSIGN_GRPC_INVALID_ARGUMENT, ENSIGN_NACK_TOPIC_UNKNOWN },
        { ENSIGN_GRPC_UNIMPLEMENTED, ENSIGN_NACK_TOPIC_UNKNOWN },
    };
    ensign_publisher_t p;
    begin(w, "first");
    p = publisher(w, true);
    for (size_t i = 0; i < 3; i++) {
        project.create_status = table[i].status;
        put(w, p, "second", 2 * i);
        put(w, p, NULL, 2 * i + 1);
        assert_non_null(strstr(nacked(w, p, 2 * i, table[i].code)->error->text, "CreateTopic"));
        acked(w, p, 2 * i + 1);
    }
    assert_int_equal(project.opened, 1);
}

SCRIPT(no_topic_and_none_may_be_made)
{
    ensign_publisher_t p;
    begin(w, NULL);
    project.create_status = ENSIGN_GRPC_PERMISSION_DENIED;
    p = publisher(w, true);
    put(w, p, NULL, 0);
    nacked(w, p, 0, ENSIGN_NACK_PERMISSION_DENIED);
    project.create_status = 0;
    put(w, p, NULL, 1);
    acked(w, p, 1);
    assert_int_equal(project.seen_count, 1);
}

/* The cache has a topic that was destroyed by somebody else: the map of a new stream knows better. */
SCRIPT(a_topic_that_the_cache_alone_has)
{
    ensign_publisher_t p, q;
    begin(w, "first");
    topic_made("second");
    p = publisher(w, false);
    put(w, p, "second", 0);
    acked(w, p, 0);                 /* by this stream's map the cache knows of it */
    project.count = 1;
    q = publisher(w, true);
    put(w, q, NULL, 1);
    acked(w, q, 1);
    put(w, q, "second", 2);
    acked(w, q, 2);
    assert_int_equal(project.made, 1);
    world_settle(w);
    assert_in_range(project.opened, 3, 4);
    project.count = 1;
    world_cut(w, ENSIGN_LINK_RPC, 0);
    put(w, p, "second", 3);
    nacked(w, p, 3, ENSIGN_NACK_TOPIC_UNKNOWN);
}

/* What a new stream's map does not have is forgotten: the stream is not opened again for it each time. */
SCRIPT(a_topic_that_is_gone_moves_the_stream_once)
{
    ensign_publisher_t p;
    begin(w, "first");
    topic_made("second");
    p = publisher(w, false);
    put(w, p, "second", 0);
    acked(w, p, 0);
    project.count = 1;
    world_cut(w, ENSIGN_LINK_RPC, 0);
    put(w, p, "first", 1);
    acked(w, p, 1);
    assert_int_equal(project.opened, 2);
    put(w, p, "second", 2);
    nacked(w, p, 2, ENSIGN_NACK_TOPIC_UNKNOWN);
    assert_int_equal(project.opened, 3);
    for (uint64_t tag = 3; tag < 6; tag++) {
        world_pass(w, 2000);
        put(w, p, "second", tag);
        nacked(w, p, tag, ENSIGN_NACK_TOPIC_UNKNOWN);
    }
    assert_int_equal(project.opened, 3);
}

/* A server that says that there is a topic, and has none in its maps. */
SCRIPT(a_topic_that_is_told_and_never_there)
{
    ensign_publisher_t p;
    begin(w, "first");
    project.phantom = true;
    p = publisher(w, false);
    put(w, p, NULL, 0);
    acked(w, p, 0);
    for (uint64_t tag = 1; tag < 5; tag++) {
        put(w, p, "ghost", tag);
        nacked(w, p, tag, ENSIGN_NACK_TOPIC_UNKNOWN);
    }
    assert_int_equal(project.asked, 1);
    assert_int_equal(project.opened, 2);
}

/* An event that was not sent is owed no ack: the stream stands while its topic is asked for. */
SCRIPT(a_long_question_is_no_stall)
{
    ensign_publisher_desc_t d;
    ensign_publisher_t p;
    begin(w, "first");
    memset(&d, 0, sizeof d);
    d.topic = "first";
    d.ack_timeout_ms = 1000;
    p = ensign_publisher_open(w->client, &d);
    put(w, p, NULL, 0);
    acked(w, p, 0);
    project.mute = true;
    put(w, p, "nowhere", 1);
    world_until(w, project.asked == 1);
    world_pass(w, 5000);
    assert_int_equal(project.opened, 1);
    assert_null(ensign_next_of(w->client, p.id));
}

static ensign_subscription_t subscribe(world_t *w, const char *const *topics, size_t count)
{
    ensign_subscription_desc_t d;
    ensign_subscription_t s;
    memset(&d, 0, sizeof d);
    d.topics = topics;
    d.topic_count = count;
    d.ensure_topics = true;
    s = ensign_subscription_open(w->client, &d);
    assert_int_not_equal(s.id, 0);
    return s;
}

/* The time of a question is up: its text names what it waited for, to the publisher and to the subscription. */
static void asks_in_vain(world_t *w, const char *question, const char *making)
{
    static const char *const topics[] = { "nowhere" };
    ensign_publisher_t p = publisher(w, false);
    ensign_subscription_t s;
    const ensign_notice_t *n;
    put(w, p, NULL, 0);
    acked(w, p, 0);
    project.mute = true;
    put(w, p, "nowhere", 1);
    n = nacked(w, p, 1, ENSIGN_NACK_TOPIC_UNKNOWN);
    if (!strstr(n->error->text, "request_timeout_ms: ") || !strstr(n->error->text, question))
        world_fail(w, "NACK does not tell of \"%s\": %s", question, n->error->text);
    s = subscribe(w, topics, 1);
    world_waiting(w, s.id, making);
}

SCRIPT(a_question_that_is_late_names_what_it_waited_for)
{
    w->desc.request_timeout_ms = 1000;
    begin(w, "first");
    asks_in_vain(w, "waiting for the server's answer to /ensign.v1beta1.Ensign/TopicExists",
                 "waiting for the server's answer to /ensign.v1beta1.Ensign/CreateTopic");
    world_close(w);
    world_begin(w, w->mode, w->seed);
    w->desc.request_timeout_ms = 1000;
    world_setting(w, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1);
    begin(w, "first");
    asks_in_vain(w, "MAX_CONCURRENT_STREAMS", "MAX_CONCURRENT_STREAMS");
}

/* A question that the server does not look at is no answer: it is asked for as long as a request would be. */
static void refuse_questions(world_t *w, stream_t *s)
{
    (void)w;
    if (strstr(peer_field(s, ":path"), "/Publish")) return;
    if (project.fail == 0) return;
    project.fail--;
    peer_reset(s, NGHTTP2_REFUSED_STREAM);
}

SCRIPT(a_question_that_is_refused_unseen)
{
    const ensign_notice_t *n;
    ensign_publisher_t p;
    uint64_t began;
    w->desc.backoff_max_ms = 1000;
    w->on_headers = refuse_questions;
    for (int ensure = 0; ensure < 2; ensure++) {
        begin(w, "first");
        p = publisher(w, ensure);
        put(w, p, NULL, 0);
        acked(w, p, 0);
        if (!ensure) topic_made("second");
        project.fail = 20;
        put(w, p, "second", 1);
        acked(w, p, 1);
        assert_int_equal(project.fail, 0);
        project.fail = 1000;
        put(w, p, "third", 2);
        began = w->now;
        n = nacked(w, p, 2, ENSIGN_NACK_TOPIC_UNKNOWN);
        assert_in_range(w->now - began, 30000, 31100);
        assert_non_null(strstr(n->error->text, "REFUSED_STREAM"));
        assert_true(project.fail > 700); /* and without a busy loop */
        world_close(w);
        world_begin(w, w->mode, w->seed);
        w->desc.backoff_max_ms = 1000;
        w->on_headers = refuse_questions;
    }
    begin(w, NULL);
}

/* A connection that is lost says nothing of the topic. */
SCRIPT(connections_break_while_a_topic_is_made)
{
    ensign_publisher_t p;
    begin(w, NULL);
    p = publisher(w, true);
    put(w, p, NULL, 0);
    project.mute = true;
    for (unsigned i = 1; i <= 8; i++) {
        world_until(w, project.made >= i);
        world_cut(w, ENSIGN_LINK_RPC, 0);
    }
    project.mute = false;
    acked(w, p, 0);
    each_once(w, 1);
}

/* The question cannot be sent beside the publisher's stream: its event does not wait for ever. */
SCRIPT(a_server_of_one_stream)
{
    ensign_publisher_t p;
    world_setting(w, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1);
    begin(w, "first");
    p = publisher(w, false);
    put(w, p, NULL, 0);
    acked(w, p, 0);
    put(w, p, "nowhere", 1);
    put(w, p, "first", 2);
    nacked(w, p, 1, ENSIGN_NACK_TOPIC_UNKNOWN);
    acked(w, p, 2);
    assert_int_equal(project.asked, 0);
}

/* Where there is no memory for the question its event is given up, and the next one goes on at once. */
SCRIPT(no_memory_to_ask)
{
    ensign_publisher_t p;
    uint64_t then;
    begin(w, "first");
    p = publisher(w, false);
    put(w, p, NULL, 0);
    acked(w, p, 0);
    put(w, p, "nowhere", 1);
    put(w, p, "first", 2);
    w->fail_at = w->allocs + 1;
    w->fail_on = true;
    nacked(w, p, 1, ENSIGN_NACK_TOPIC_UNKNOWN);
    w->fail_at = 0;
    then = w->now;
    acked(w, p, 2);
    assert_in_range(w->now - then, 0, 1000);
    assert_int_equal(project.asked, 0);
}

/* That one name is not there says nothing of another one, whose question fails at first. */
SCRIPT(two_names_of_which_one_is_not_there)
{
    ensign_publisher_t p;
    begin(w, "first");
    p = publisher(w, false);
    put(w, p, NULL, 0);
    acked(w, p, 0);
    put(w, p, "nowhere", 1);
    nacked(w, p, 1, ENSIGN_NACK_TOPIC_UNKNOWN);
    topic_made("second");
    project.fail = 1;
    put(w, p, "second", 2);
    acked(w, p, 2);
}

/* ------------------------------------------------------------------ ensure_topics, query, group */
SCRIPT(topics_are_made_before_a_subscription_opens)
{
    static const char *const topics[] = { "first", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "second" };
    ensign_subscription_t s;
    begin(w, "first");
    project.fail = 2;
    s = subscribe(w, topics, 3);
    world_await(w, s.id, ENSIGN_NOTICE_OPEN);
    assert_int_equal(project.made, 4);          /* two of them failed; the id is no name */
    assert_int_equal(project.count, 2);
    world_cut(w, ENSIGN_LINK_RPC, 0);
    world_await(w, s.id, ENSIGN_NOTICE_OPEN);
    assert_int_equal(project.made, 4);          /* once is enough */
    assert_int_equal(ensign_close(w->client, s.id, ENSIGN_FOREVER), ENSIGN_OK);
    world_end(w, s.id, ENSIGN_GRPC_OK);
}

/* A development server that was started again without its data: the topics are made anew, once for each stream
 * that stood. */
SCRIPT(topics_that_the_server_has_lost_are_made_anew)
{
    static const char *const topics[] = { "first" };
    ensign_subscription_t s;
    begin(w, NULL);
    s = subscribe(w, topics, 1);
    world_await(w, s.id, ENSIGN_NOTICE_OPEN);
    for (unsigned i = 1; i < 4; i++) {
        assert_int_equal(project.made, i);
        project.count = 0;
        world_cut(w, ENSIGN_LINK_RPC, 0);
        world_await(w, s.id, ENSIGN_NOTICE_OPEN);
        assert_int_equal(project.opened, 1 + 2 * i);
    }
    project.forgets = true;
    project.count = 0;
    world_cut(w, ENSIGN_LINK_RPC, 0);
    assert_int_equal(world_end(w, s.id, ENSIGN_GRPC_FAILED_PRECONDITION)->error->code, ENSIGN_E_UNKNOWN_TOPIC);
    assert_int_equal(project.made, 5);
}

SCRIPT(a_subscription_whose_topic_may_not_be_made)
{
    static const char *const topics[] = { "second" };
    ensign_subscription_t s;
    const ensign_notice_t *n;
    begin(w, "first");
    project.create_status = ENSIGN_GRPC_PERMISSION_DENIED;
    s = subscribe(w, topics, 1);
    n = world_end(w, s.id, ENSIGN_GRPC_PERMISSION_DENIED);
    assert_int_equal(n->error->code, ENSIGN_E_PERMISSION_DENIED);
    assert_true(n->as.end.from_server);
    assert_text(n->as.end.text, "no");
    project.mute = true;
    s = subscribe(w, topics, 1);
    world_until(w, project.made == 2);
    assert_int_equal(ensign_close(w->client, s.id, ENSIGN_FOREVER), ENSIGN_OK);
    assert_null(world_end(w, s.id, ENSIGN_GRPC_OK)->error);
}

/* Given up: END has the reason why no topic could be made. */
SCRIPT(topics_that_are_not_made_in_time)
{
    static const char *const topics[] = { "second" };
    ensign_subscription_t s;
    const ensign_notice_t *n;
    w->desc.give_up_after_ms = 3000;
    begin(w, "first");
    project.fail = 1000;
    s = subscribe(w, topics, 1);
    n = world_end(w, s.id, ENSIGN_GRPC_UNAVAILABLE);
    assert_non_null(strstr(n->error->text, "later"));
}

/* The server would refuse its message for ever. */
SCRIPT(a_subscription_that_no_message_holds)
{
    enum { COUNT = 8200 };
    static const char *topics[COUNT];
    static char name[513];
    ensign_subscription_desc_t d;
    memset(name, 'n', 512);
    memset(&d, 0, sizeof d);
    for (int i = 0; i < COUNT; i++) topics[i] = name;
    d.topics = topics;
    d.topic_count = COUNT;
    begin(w, "first");
    assert_int_equal(ensign_subscription_open(w->client, &d).id, 0);
    assert_int_equal(ensign_error(w->client)->code, ENSIGN_E_TOO_LARGE);
    d.topic_count = 8000;
    assert_int_not_equal(ensign_subscription_open(w->client, &d).id, 0);
}

SCRIPT(query_and_group_go_to_the_server)
{
    static const char *const topics[] = { "first" };
    ensign_subscription_desc_t d;
    ensign_param_t params[2];
    ensign_slice_t m, f, value;
    memset(&d, 0, sizeof d);
    memset(params, 0, sizeof params);
    params[0].name = "n";
    params[0].type = ENSIGN_PARAM_INT;
    params[0].as.i = -3;
    params[1].name = "s";
    params[1].type = ENSIGN_PARAM_STRING;
    params[1].as.s = "";
    d.topics = topics;
    d.topic_count = 1;
    d.query = "SELECT * FROM first";
    d.params = params;
    d.param_count = 2;
    d.group = "readers";
    world_create(w);
    assert_int_not_equal(ensign_subscription_open(w->client, &d).id, 0);
    m = world_request(w, world_stream(w, 0));
    assert_true(dec_field(m, 3, &m));           /* SubscribeRequest.subscription */
    assert_true(dec_field(m, 4, &f) && dec_field(f, 3, &f));
    assert_text(f, "readers");
    assert_true(dec_field(m, 3, &m) && dec_field(m, 1, &f));
    assert_text(f, "SELECT * FROM first");
    assert_true(dec_field(m, 2, &f));           /* the last parameter */
    assert_true(dec_field(f, 5, &value));
    assert_int_equal(value.len, 0);
    params[1].type = 9;
    assert_int_equal(ensign_subscription_open(w->client, &d).id, 0);
    assert_int_equal(ensign_error(w->client)->code, ENSIGN_E_ARGUMENT);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(a_topic_that_this_client_made),
        IN_MODES(nothing_in_flight_is_lost),
        IN_MODES(without_a_cache_it_is_asked_for),
        IN_MODES(a_name_that_is_not_there_is_asked_for_once_a_second),
        IN_MODES(an_id_that_the_map_lacks),
        IN_MODES(a_key_that_may_not_look),
        IN_MODES(a_question_that_fails),
        IN_MODES(the_connection_breaks_while_it_is_asked),
        IN_MODES(closing_while_it_is_asked),
        IN_MODES(forgetting_while_it_is_asked),
        IN_MODES(topics_are_made_on_the_way),
        IN_MODES(topics_are_made_in_an_empty_project),
        IN_MODES(somebody_else_made_it_first),
        IN_MODES(a_topic_that_may_not_be_made),
        IN_MODES(no_topic_and_none_may_be_made),
        IN_MODES(a_topic_that_the_cache_alone_has),
        IN_MODES(a_topic_that_is_gone_moves_the_stream_once),
        IN_MODES(a_topic_that_is_told_and_never_there),
        IN_MODES(a_long_question_is_no_stall),
        IN_MODES(a_question_that_is_late_names_what_it_waited_for),
        IN_MODES(a_question_that_is_refused_unseen),
        IN_MODES(connections_break_while_a_topic_is_made),
        IN_MODES(a_server_of_one_stream),
        IN_MODES(no_memory_to_ask),
        IN_MODES(two_names_of_which_one_is_not_there),
        IN_MODES(topics_are_made_before_a_subscription_opens),
        IN_MODES(topics_that_the_server_has_lost_are_made_anew),
        IN_MODES(a_subscription_whose_topic_may_not_be_made),
        IN_MODES(topics_that_are_not_made_in_time),
        IN_MODES(a_subscription_that_no_message_holds),
        IN_MODES(query_and_group_go_to_the_server),
    };
    return cmocka_run_group_tests_name("topics", tests, NULL, NULL);
}
