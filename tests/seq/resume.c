/* Places: a subscription that goes on behind its last events, begins at an offset, or belongs to a group. The
 * server keeps a log, or says that it does. */
#include "service.h"

enum { WEATHER = 1, TRAFFIC = 2, NEW = 4, BOTH = WEATHER | TRAFFIC };   /* topics, as bits */
enum { EPOCH = 7, NONE = 0xFFFF };          /* NONE: no offset */

static const char *const names[] = { "weather", "traffic", "new" };

static const uint8_t *topic_id(unsigned topic)
{
    static uint8_t id[16];
    memset(id, 'a' + (int)topic, sizeof id);
    return id;
}

static ensign_subscription_t subscribe(world_t *w, const ensign_subscription_desc_t *d)
{
    ensign_subscription_t s = ensign_subscription_open(w->client, d);
    if (!s.id) world_fail(w, "ensign_subscription_open refused a good subscription");
    return s;
}

static ensign_subscription_desc_t of_both(void)
{
    ensign_subscription_desc_t d;
    memset(&d, 0, sizeof d);
    d.topics = names;
    d.topic_count = 2;
    d.resume = true;
    return d;
}

/* ------------------------------------------------------------------ the server */
/* What a stream asks for, as text: "name" of the group, then each topic and its place. "-": no group. */
static const char *asked(ensign_slice_t request)
{
    static char text[400];
    ensign_slice_t sub, group, name = { NULL, 0 };
    size_t at;
    dec_t d;
    assert_true(dec_field(request, 3, &sub));
    if (!dec_field(sub, 4, &group)) return "-";
    dec_field(group, 3, &name);
    at = (size_t)snprintf(text, sizeof text, "\"%.*s\"", (int)name.len, (const char *)name.ptr);
    for (d = dec_begin(group); dec_next(&d);) {
        if (d.tag != 12) continue;
        assert_true(dec_field(d.bytes, 1, &name));
        at += (size_t)snprintf(text + at, sizeof text - at, " %.*s %llu", (int)name.len,
                               (const char *)name.ptr, (unsigned long long)dec_uint(d.bytes, 2));
    }
    return text;
}

/* The i-th stream of a subscription; NULL: it has not come. */
static stream_t *subscribed(world_t *w, size_t i)
{
    for (size_t at = 0; at < w->stream_count; at++) {
        stream_t *s = w->streams[at];
        if (s->headers && strstr(peer_field(s, ":path"), "/Subscribe") && i-- == 0) return s;
    }
    return NULL;
}

/* The i-th of them, which asks for this. */
static stream_t *opened(world_t *w, size_t i, const char *want)
{
    stream_t *s;
    const char *found;
    world_until(w, subscribed(w, i) != NULL);
    s = subscribed(w, i);
    found = asked(world_request(w, s));
    if (strcmp(found, want) != 0) world_fail(w, "stream %zu asks for %s instead of %s", i, found, want);
    return s;
}

static void put_topics(bytes_t *ready, unsigned topics)
{
    for (unsigned i = 0; i < COUNT(names); i++) {
        bytes_t entry = {0};
        if (!(topics & 1u << i)) continue;
        enc_text(&entry, 1, names[i]);
        enc_bytes(&entry, 2, topic_id(i), 16);
        enc_message(ready, 3, &entry);
    }
}

/* It is ready, with this header; NULL: none. */
static void begin_with(stream_t *s, unsigned topics, const char *header)
{
    bytes_t ready = {0}, reply = {0};
    if (header)
        peer_headers(s, "200", "content-type", "application/grpc", "ensign-place", header, NULL);
    put_topics(&ready, topics);
    enc_message(&reply, 2, &ready);
    peer_send(s, &reply);
}

static void begin(stream_t *s, unsigned topics, uint64_t offset)
{
    char header[64];
    snprintf(header, sizeof header, "%d %llu", EPOCH, (unsigned long long)offset);
    begin_with(s, topics, header);
}

/* An event whose data are its offset as text. odd: its fields come in another order, which is allowed. */
static void put_event(bytes_t *reply, unsigned topic, uint64_t offset, uint64_t epoch, size_t size, bool odd)
{
    static char data[4000];
    bytes_t e = {0}, wrap = {0};
    uint8_t id[10] = { 1 };
    int len = snprintf(data, sizeof data, "%llu", (unsigned long long)offset);
    id[9] = (uint8_t)offset;
    enc_bytes(&e, 2, data, size > (size_t)len ? size : (size_t)len);
    if (odd) enc_message(&wrap, 9, &e);
    enc_bytes(&wrap, 1, id, sizeof id);
    enc_bytes(&wrap, 2, topic_id(topic), 16);
    if (offset) enc_uint(&wrap, 3, offset);
    if (epoch) enc_uint(&wrap, 4, epoch);
    if (!odd) enc_message(&wrap, 9, &e);
    enc_time(&wrap, 15, 1600000000 + (int64_t)offset, 8);
    enc_message(reply, 1, &wrap);
}

static void deliver_sized(stream_t *s, unsigned topic, uint64_t offset, size_t size)
{
    bytes_t reply = {0};
    put_event(&reply, topic, offset, EPOCH, size, false);
    peer_send(s, &reply);
}

static void deliver(stream_t *s, unsigned topic, uint64_t offset)
{
    deliver_sized(s, topic, offset, 0);
}

static void deliver_of(stream_t *s, unsigned topic, uint64_t offset, uint64_t epoch, bool odd)
{
    bytes_t reply = {0};
    put_event(&reply, topic, offset, epoch, 0, odd);
    peer_send(s, &reply);
}

static void cut(world_t *w)
{
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
}

/* ------------------------------------------------------------------ the program */
static const ensign_notice_t *next(world_t *w, ensign_subscription_t s)
{
    const ensign_notice_t *n;
    do n = world_next(w, s.id); while (n->type == ENSIGN_NOTICE_OPEN);
    return n;
}

/* The event with this offset comes next, and nothing before it. */
static uint64_t event(world_t *w, ensign_subscription_t s, uint64_t offset)
{
    const ensign_notice_t *n = next(w, s);
    if (n->type != ENSIGN_NOTICE_EVENT)
        world_fail(w, "%s instead of event %d: %s", ensign_notice_name(n->type), (int)offset,
                   n->error ? n->error->text : "");
    if (n->as.event->offset != offset)
        world_fail(w, "event %d instead of %d", (int)n->as.event->offset, (int)offset);
    return n->as.event->token;
}

/* A GAP comes next, behind the event of the offset `since`; NONE: behind no event. */
static void gap(world_t *w, ensign_subscription_t s, int code, uint64_t since)
{
    const ensign_notice_t *n = next(w, s);
    if (n->type != ENSIGN_NOTICE_GAP)
        world_fail(w, "%s instead of a GAP", ensign_notice_name(n->type));
    if (n->error->code != code)
        world_fail(w, "a GAP with the code %d instead of %d: %s", n->error->code, code, n->error->text);
    assert_int_equal(n->as.gap.times, 1);
    assert_int_equal(n->as.gap.since.seconds, since == NONE ? 0 : 1600000000 + (int64_t)since);
}

static void nothing(world_t *w, ensign_subscription_t s)
{
    const ensign_notice_t *n;
    world_settle(w);
    while ((n = world_pull(w, s.id)) != NULL)
        if (n->type != ENSIGN_NOTICE_OPEN)
            world_fail(w, "%s where none was due", ensign_notice_name(n->type));
}

/* ------------------------------------------------------------------ resume */
SCRIPT(a_break_leaves_no_gap)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    sub = subscribe(w, &d);
    s = opened(w, 0, "-");
    begin(s, BOTH, 10);
    deliver(s, 0, 12);
    deliver(s, 0, 15);
    event(w, sub, 12);
    event(w, sub, 15);
    cut(w);
    s = opened(w, 1, "\"\" weather 15 traffic 10"); /* the quiet one goes on where the stream began */
    begin(s, BOTH, 20);
    deliver(s, 1, 11);
    deliver(s, 0, 16);
    deliver(s, 1, 19);
    event(w, sub, 11);
    event(w, sub, 16);
    event(w, sub, 19);
    nothing(w, sub);
    peer_finish(s, ENSIGN_GRPC_UNAVAILABLE, "maintenance", NULL);
    s = opened(w, 2, "\"\" weather 16 traffic 19");
    begin(s, BOTH, 20);
    nothing(w, sub);
    cut(w);
    s = opened(w, 3, "\"\" weather 16 traffic 19"); /* of a stream without events */
    begin(s, BOTH, 21);
    deliver(s, 0, 21);
    event(w, sub, 21);
    nothing(w, sub);
    assert_int_equal(w->stream_count, 4);
}

SCRIPT(what_waits_to_be_pulled_is_not_asked_for_again)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    bytes_t reply = {0};
    stream_t *s;
    world_create(w);
    sub = subscribe(w, &d);
    s = opened(w, 0, "-");
    begin(s, BOTH, 0);
    deliver(s, 0, 1);
    deliver(s, 1, 2);
    deliver(s, 0, 3);
    put_event(&reply, 0, 4, EPOCH, 900, false);
    peer_prefix(s, 0, reply.len);
    peer_raw(s, reply.p, reply.len - 1);    /* cut in the midst */
    bytes_free(&reply);
    cut(w);
    s = opened(w, 1, "\"\" weather 3 traffic 2");
    begin(s, BOTH, 5);
    deliver(s, 0, 4);
    world_settle(w);
    for (uint64_t offset = 1; offset <= 4; offset++) event(w, sub, offset);
    nothing(w, sub);
}

SCRIPT(what_comes_twice_is_given_once)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    sub = subscribe(w, &d);
    s = opened(w, 0, "-");
    begin(s, BOTH, 3);
    deliver(s, 0, 2);                       /* the server's own idea of live: no resume has been asked for */
    deliver(s, 0, 4);
    event(w, sub, 2);
    event(w, sub, 4);
    cut(w);
    s = opened(w, 1, "\"\" weather 4 traffic 3");
    begin(s, BOTH, 9);
    for (uint64_t offset = 2; offset <= 6; offset++) deliver(s, 0, offset);
    deliver_of(s, 0, 6, EPOCH, true);
    deliver(s, 1, 3);
    deliver(s, 1, 5);
    deliver(s, 0, 9);
    event(w, sub, 5);
    event(w, sub, 6);
    event(w, sub, 5);
    event(w, sub, 9);
    nothing(w, sub);
}

SCRIPT(fields_in_another_order_have_a_place)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    sub = subscribe(w, &d);
    s = opened(w, 0, "-");
    begin(s, BOTH, 0);
    deliver_of(s, 0, 5, EPOCH, true);
    event(w, sub, 5);
    cut(w);
    begin(opened(w, 1, "\"\" weather 5 traffic 0"), BOTH, 5);
    nothing(w, sub);
}

SCRIPT(goaway_leaves_no_gap)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    sub = subscribe(w, &d);
    s = opened(w, 0, "-");
    begin(s, BOTH, 0);
    deliver(s, 0, 1);
    event(w, sub, 1);
    peer_goaway_notice(w);
    world_settle(w);
    if (w->conn[ENSIGN_LINK_RPC] == s->conn) peer_goaway(w, s->id, NGHTTP2_NO_ERROR, NULL);
    s = opened(w, 1, "\"\" weather 1 traffic 0");
    assert_int_equal(s->conn->number, 1);
    begin(s, BOTH, 2);
    deliver(s, 0, 2);
    event(w, sub, 2);
    nothing(w, sub);
}

/* ------------------------------------------------------------------ not honoured */
/* A server that has no queries either: what is missing cannot be had from it. */
static void refuse_queries(world_t *w, stream_t *s)
{
    (void)w;
    if (strstr(peer_field(s, ":path"), "/EnSQL"))
        peer_refuse(s, ENSIGN_GRPC_UNIMPLEMENTED, "no such method");
}

/* The first stream of a server without places tells the topics, and is closed again. */
static stream_t *opened_twice(world_t *w, size_t i, const char *want, const char *header)
{
    begin_with(opened(w, i, want), BOTH, header);
    return opened(w, i + 1, "-");
}

static void no_place(world_t *w, const char *header)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    stream_t *s;
    w->on_headers = refuse_queries;
    world_create(w);
    sub = subscribe(w, &d);
    s = opened_twice(w, 0, "-", header);
    begin_with(s, BOTH, header);
    deliver(s, 0, 1);
    cut(w);
    event(w, sub, 1);
    gap(w, sub, ENSIGN_E_UNIMPLEMENTED, 1); /* of each topic */
    gap(w, sub, ENSIGN_E_UNIMPLEMENTED, 1);
    s = opened(w, 2, "-");
    begin_with(s, BOTH, header);
    deliver(s, 0, 3);
    event(w, sub, 3);
    nothing(w, sub);
}

SCRIPT(a_server_without_places_leaves_a_gap)
{
    no_place(w, NULL);
}

SCRIPT(a_header_that_says_nothing_is_none)
{
    no_place(w, "7");
}

/* The request names places; the server that answers knows none. */
SCRIPT(a_server_that_has_lost_its_places_leaves_a_gap)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    stream_t *s;
    w->on_headers = refuse_queries;
    world_create(w);
    sub = subscribe(w, &d);
    begin(opened(w, 0, "-"), BOTH, 4);
    cut(w);
    begin_with(opened(w, 1, "\"\" weather 4 traffic 4"), BOTH, NULL);
    gap(w, sub, ENSIGN_E_CLOSED, NONE);
    s = opened(w, 2, "-");
    begin_with(s, BOTH, NULL);
    deliver_of(s, 0, 0, 0, false);
    event(w, sub, 0);
    cut(w);
    gap(w, sub, ENSIGN_E_UNIMPLEMENTED, 0);
    gap(w, sub, ENSIGN_E_UNIMPLEMENTED, 0);
    begin(opened(w, 3, "-"), BOTH, 9);
    nothing(w, sub);
    cut(w);
    begin(opened(w, 4, "\"\" weather 9 traffic 9"), BOTH, 9);
    nothing(w, sub);
}

SCRIPT(another_epoch_leaves_a_gap)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    sub = subscribe(w, &d);
    s = opened(w, 0, "-");
    begin(s, BOTH, 4);
    deliver(s, 0, 5);
    event(w, sub, 5);
    cut(w);
    s = opened(w, 1, "\"\" weather 5 traffic 4");
    begin_with(s, BOTH, "8 100");
    deliver_of(s, 0, 6, 8, false);
    gap(w, sub, ENSIGN_E_DATA_LOSS, 5);
    event(w, sub, 6);
    cut(w);
    s = opened(w, 2, "\"\" weather 6 traffic 4");   /* where the server has begun the quiet one */
    begin_with(s, BOTH, "8 100");
    deliver_of(s, 1, 5, 8, false);
    event(w, sub, 5);
    nothing(w, sub);
}

SCRIPT(a_log_without_its_end_leaves_a_gap)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    sub = subscribe(w, &d);
    s = opened(w, 0, "-");
    begin(s, BOTH, 4);
    deliver(s, 0, 9);
    event(w, sub, 9);
    cut(w);
    s = opened(w, 1, "\"\" weather 9 traffic 4");
    begin(s, BOTH, 8);
    deliver(s, 0, 9);                       /* another one than that before */
    gap(w, sub, ENSIGN_E_DATA_LOSS, 9);
    event(w, sub, 9);
    nothing(w, sub);
}

/* An event of which it cannot be told where it stands: the next break is a GAP, and all is well again. */
static void unplaced(world_t *w, unsigned topic, uint64_t offset, uint64_t epoch)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    sub = subscribe(w, &d);
    s = opened(w, 0, "-");
    begin(s, BOTH, 4);
    deliver_of(s, topic, offset, epoch, false);
    event(w, sub, offset);
    cut(w);
    gap(w, sub, ENSIGN_E_CLOSED, offset);
    s = opened(w, 1, "-");
    begin(s, BOTH, 8);
    nothing(w, sub);
    cut(w);
    begin(opened(w, 2, "\"\" weather 8 traffic 8"), BOTH, 8);
    nothing(w, sub);
}

SCRIPT(an_event_of_another_epoch_has_no_place)
{
    unplaced(w, 0, 5, EPOCH + 1);
}

SCRIPT(an_event_of_another_topic_has_no_place)
{
    unplaced(w, 2, 5, EPOCH);
}

SCRIPT(gaps_with_nothing_between_them_are_one)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    const ensign_notice_t *n;
    world_create(w);
    sub = subscribe(w, &d);
    begin(opened(w, 0, "-"), BOTH, 4);
    cut(w);
    begin(opened(w, 1, "\"\" weather 4 traffic 4"), BOTH, 3);
    cut(w);
    begin_with(opened(w, 2, "\"\" weather 3 traffic 3"), BOTH, "8 9");
    world_settle(w);
    n = next(w, sub);
    assert_int_equal(n->type, ENSIGN_NOTICE_GAP);
    assert_int_equal(n->as.gap.times, 2);
    nothing(w, sub);
}

/* The GAP is longer than a `ready` without anything in it, and events stand right behind that. */
SCRIPT(a_gap_has_room_before_the_first_event)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    bytes_t ready = {0}, reply = {0};
    stream_t *s;
    world_create(w);
    d.window_bytes = 1024;
    sub = subscribe(w, &d);
    s = opened(w, 0, "-");
    begin(s, BOTH, 0);
    for (uint64_t offset = 1; offset <= 5; offset++) deliver_sized(s, 0, offset, 100);
    cut(w);
    s = opened(w, 1, "\"\" weather 5 traffic 0");
    enc_message(&reply, 2, &ready);
    peer_prefix(s, 0, reply.len);
    bytes_add(&s->out, reply.p, reply.len);
    bytes_free(&reply);
    for (uint64_t offset = 6; offset <= 30; offset++) deliver_sized(s, 0, offset, 100);
    world_settle(w);
    for (uint64_t offset = 1; offset <= 5; offset++) event(w, sub, offset);
    gap(w, sub, ENSIGN_E_CLOSED, 5);
    for (uint64_t offset = 6; offset <= 30; offset++) event(w, sub, offset);
    nothing(w, sub);
}

/* ------------------------------------------------------------------ topics come and go */
SCRIPT(a_topic_that_was_made_meanwhile_is_whole)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    d.topic_count = 0;
    sub = subscribe(w, &d);
    s = opened(w, 0, "-");
    begin(s, WEATHER, 10);
    deliver(s, 0, 14);
    event(w, sub, 14);
    cut(w);
    s = opened(w, 1, "\"\" weather 14");
    begin(s, WEATHER | NEW, 20);
    deliver(s, 0, 15);                      /* nothing of it is lost when it is not used */
    s = opened(w, 2, "\"\" weather 14 new 10");
    assert_int_equal(s->conn->number, 1);
    begin(s, WEATHER | NEW, 20);
    deliver(s, 2, 12);
    deliver(s, 0, 15);
    event(w, sub, 12);
    event(w, sub, 15);
    nothing(w, sub);
    assert_int_equal(w->waits, 1);          /* for the connection, and for nothing else */
}

/* A server that has another topic each time, whose names count up, is not asked for ever. */
static void begin_with_count(stream_t *s, unsigned count)
{
    bytes_t ready = {0}, reply = {0};
    peer_headers(s, "200", "content-type", "application/grpc", "ensign-place", "7 21", NULL);
    for (unsigned i = 0; i < count; i++) {
        bytes_t entry = {0};
        enc_text(&entry, 1, service_topic_name(i));
        enc_bytes(&entry, 2, topic_id(i), 16);
        enc_message(&ready, 3, &entry);
    }
    enc_message(&reply, 2, &ready);
    peer_send(s, &reply);
}

SCRIPT(topics_that_are_new_each_time_leave_a_gap)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    d.topic_count = 0;
    sub = subscribe(w, &d);
    begin_with_count(opened(w, 0, "-"), 1);
    cut(w);
    for (unsigned i = 1; i <= 5; i++) begin_with_count(world_stream(w, i), i + 1);
    gap(w, sub, ENSIGN_E_CLOSED, NONE);
    s = w->streams[5];                      /* this one is used */
    deliver(s, 5, 22);
    event(w, sub, 22);
    cut(w);
    s = opened(w, 6, "\"\" weather 21 t1 21 t2 21 t3 21 t4 21 t5 22");
    begin_with(s, BOTH, "7 22");
    nothing(w, sub);
}

SCRIPT(a_topic_that_is_gone_is_asked_for_no_more)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    world_create(w);
    sub = subscribe(w, &d);
    begin(opened(w, 0, "-"), BOTH, 10);
    cut(w);
    begin(opened(w, 1, "\"\" weather 10 traffic 10"), TRAFFIC, 10);
    cut(w);
    begin(opened(w, 2, "\"\" traffic 10"), TRAFFIC, 10);
    nothing(w, sub);
}

/* ------------------------------------------------------------------ memory */
/* As many topics as a message can bring, and each time other ones; one in two has a name of one byte. */
static void begin_with_many(stream_t *s, size_t most, unsigned turn)
{
    bytes_t ready = {0}, reply = {0};
    peer_headers(s, "200", "content-type", "application/grpc", "ensign-place", "7 18446744073709551000", NULL);
    for (unsigned i = 0; ready.len + 40 < most; i++) {
        bytes_t entry = {0};
        char name[24];
        uint8_t id[16] = { 0 };
        snprintf(name, sizeof name, "%c%u-%u", 'a', i, i % 2 ? turn : 0);
        if (i < 60) name[0] = (char)('A' + i), name[1] = 0;
        memcpy(id, &i, sizeof i);
        enc_text(&entry, 1, name);
        enc_bytes(&entry, 2, id, sizeof id);
        enc_message(&ready, 3, &entry);
    }
    enc_message(&reply, 2, &ready);
    assert_true(reply.len <= most);
    peer_send(s, &reply);
}

SCRIPT(many_topics_stay_within_the_bound)
{
    ensign_subscription_desc_t d = of_both();
    size_t most = w->mode == BYTE ? 4096 : 65536, bound;
    ensign_subscription_t sub;
    world_create(w);
    d.topic_count = 0;
    d.window_bytes = 1024;
    d.max_event_bytes = (uint32_t)most;
    bound = ensign_memory_bound(&w->desc) + ensign_subscription_memory_bound(&d);
    sub = subscribe(w, &d);
    for (unsigned i = 0; i < 8; i++) {
        stream_t *s = world_stream(w, i);
        assert_true(world_request(w, s).len > (i ? most / 3 : 0));
        begin_with_many(s, most, (i + 1) / 2); /* each second one is asked for again, with the new names */
        world_settle(w);
        world_pull(w, sub.id);              /* OPEN, which needs its map while it stands */
        if (i % 2 == 0) cut(w);
    }
    if (w->live_peak > bound) world_fail(w, "%zu bytes were held, %zu are the bound", w->live_peak, bound);
    nothing(w, sub);
}

/* ------------------------------------------------------------------ what is too large */
SCRIPT(what_is_too_large_is_not_asked_for_again)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    d.max_event_bytes = 1024;
    d.window_bytes = 1024;
    sub = subscribe(w, &d);
    s = opened(w, 0, "-");
    begin(s, BOTH, 0);
    deliver(s, 0, 1);
    deliver_sized(s, 0, 2, 3000);
    event(w, sub, 1);
    gap(w, sub, ENSIGN_E_TOO_LARGE, 1);
    cut(w);
    s = opened(w, 1, "\"\" weather 2 traffic 0");
    begin(s, BOTH, 3);
    deliver_sized(s, 0, 2, 3000);           /* again all the same: it has had its GAP */
    deliver(s, 0, 3);
    event(w, sub, 3);
    nothing(w, sub);
}

/* Its first bytes tell its place, however they come and however full the buffer is. */
SCRIPT(large_events_in_a_full_buffer_do_not_stall)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    d.max_event_bytes = 1024;
    d.window_bytes = 1024;
    sub = subscribe(w, &d);
    s = opened(w, 0, "-");
    begin(s, BOTH, 0);
    for (uint64_t i = 0; i < 20; i++) {
        deliver_sized(s, 0, 2 * i + 1, 100 + 40 * (size_t)i);
        deliver_sized(s, 0, 2 * i + 2, 1100 + world_below(w, 2000));
    }
    for (uint64_t i = 0; i < 20; i++) {
        event(w, sub, 2 * i + 1);
        gap(w, sub, ENSIGN_E_TOO_LARGE, 2 * i + 1);
    }
    cut(w);
    begin(opened(w, 1, "\"\" weather 40 traffic 0"), BOTH, 40);
    nothing(w, sub);
}

/* ------------------------------------------------------------------ from */
SCRIPT(a_subscription_begins_at_an_offset)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    d.resume = false;
    d.from = 5;
    sub = subscribe(w, &d);
    s = opened(w, 0, "\"\" weather 4 traffic 4");
    begin(s, BOTH, 9);
    deliver(s, 1, 5);
    deliver(s, 0, 6);
    event(w, sub, 5);
    event(w, sub, 6);
    cut(w);
    s = opened(w, 1, "-");                  /* it is where the first stream begins, and no more */
    begin(s, BOTH, 9);
    gap(w, sub, ENSIGN_E_CLOSED, 6);
    deliver(s, 0, 10);
    event(w, sub, 10);
    nothing(w, sub);
}

SCRIPT(the_start_is_behind_nothing)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    world_create(w);
    d.from = ENSIGN_FROM_START;
    d.topic_count = 1;
    sub = subscribe(w, &d);
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET); /* before it was ready */
    opened(w, 0, "\"\" weather 0");
    begin(opened(w, 1, "\"\" weather 0"), WEATHER, 9);
    nothing(w, sub);
    cut(w);
    begin(opened(w, 2, "\"\" weather 0"), WEATHER, 9);
    nothing(w, sub);
}

/* Topics that the program does not name by name are learnt from a stream that is not used. */
static void learns(world_t *w, const char *const *topics, size_t count)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    d.topics = topics;
    d.topic_count = count;
    d.from = 3;
    sub = subscribe(w, &d);
    s = opened(w, 0, "-");
    begin(s, BOTH, 9);
    deliver(s, 0, 10);
    s = opened(w, 1, "\"\" weather 2 traffic 2");
    begin(s, BOTH, 10);
    for (uint64_t offset = 3; offset <= 10; offset++) deliver(s, offset % 2, offset);
    assert_int_equal(world_next(w, sub.id)->as.open.times, 1);
    for (uint64_t offset = 3; offset <= 10; offset++) event(w, sub, offset);
    nothing(w, sub);
    assert_int_equal(w->waits, 0);
    cut(w);
    begin(opened(w, 2, "\"\" weather 10 traffic 9"), BOTH, 10);
    nothing(w, sub);
}

SCRIPT(all_topics_begin_at_an_offset)
{
    learns(w, NULL, 0);
}

SCRIPT(topics_by_their_id_begin_at_an_offset)
{
    static const char *const ids[] = { "weather", "01GTSMQ3V8ASAPNCFEN378T8RD" };
    learns(w, ids, 2);
}

SCRIPT(a_server_without_places_begins_with_a_gap)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    const ensign_notice_t *n;
    stream_t *s;
    world_create(w);
    d.from = 77;
    d.resume = false;
    sub = subscribe(w, &d);
    s = opened(w, 0, "\"\" weather 76 traffic 76");
    begin_with(s, BOTH, NULL);
    deliver_of(s, 0, 0, 0, false);
    n = next(w, sub);
    assert_int_equal(n->type, ENSIGN_NOTICE_GAP);
    assert_int_equal(n->error->code, ENSIGN_E_UNIMPLEMENTED);
    assert_non_null(strstr(n->error->text, "did not begin at `from`"));
    assert_int_equal(n->as.gap.since.seconds, 0);
    event(w, sub, 0);
    d.topic_count = 0;
    sub = subscribe(w, &d);
    begin_with(opened(w, 1, "-"), BOTH, NULL);  /* this one is used */
    gap(w, sub, ENSIGN_E_UNIMPLEMENTED, NONE);
    nothing(w, sub);
    assert_int_equal(w->stream_count, 2);
}

SCRIPT(an_offset_beyond_the_log_is_a_gap)
{
    ensign_subscription_desc_t d = of_both();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    d.from = UINT64_MAX;
    sub = subscribe(w, &d);
    s = opened(w, 0, "\"\" weather 18446744073709551614 traffic 18446744073709551614");
    begin(s, BOTH, 9);
    gap(w, sub, ENSIGN_E_DATA_LOSS, NONE);
    deliver(s, 0, 10);
    event(w, sub, 10);
    cut(w);
    begin(opened(w, 1, "\"\" weather 10 traffic 9"), BOTH, 10);
    nothing(w, sub);
}

/* ------------------------------------------------------------------ groups */
/* The acks that the server hears on a stream, by the last byte of each RLID: "1 2 -3", nacks with a minus. */
static void heard_acks(world_t *w, stream_t *s, const char *want)
{
    char text[200] = "";
    size_t at = 0;
    ensign_slice_t m, f, id;
    world_settle(w);
    while (peer_take(s, &m)) {
        bool ack = dec_field(m, 1, &f);
        assert_true(ack || dec_field(m, 2, &f));
        assert_true(dec_field(f, 1, &id));
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s%d", at ? " " : "", ack ? "" : "-",
                               id.ptr[9]);
    }
    assert_int_equal(s->in_at, s->in.len);
    if (strcmp(text, want) != 0) world_fail(w, "acks of %s instead of %s", text, want);
}

static ensign_subscription_desc_t of_group(void)
{
    ensign_subscription_desc_t d = of_both();
    d.group = "g";
    return d;
}

SCRIPT(the_acks_of_a_group_outlive_a_stream)
{
    ensign_subscription_desc_t d = of_group();
    ensign_subscription_t sub;
    uint64_t token[5];
    stream_t *s;
    world_create(w);
    sub = subscribe(w, &d);
    s = opened(w, 0, "\"g\"");
    begin(s, BOTH, 0);
    for (uint64_t i = 1; i <= 4; i++) deliver(s, 0, i);
    for (uint64_t i = 1; i <= 4; i++) token[i] = event(w, sub, i);
    assert_int_equal(ensign_ack(w->client, sub, token[1]), ENSIGN_OK);
    heard_acks(w, s, "1");
    cut(w);
    assert_int_equal(ensign_ack(w->client, sub, token[2]), ENSIGN_OK);   /* without a stream */
    s = opened(w, 1, "\"g\"");
    assert_int_equal(ensign_nack(w->client, sub, token[3], ENSIGN_NACK_UNPROCESSED), ENSIGN_OK);
    heard_acks(w, s, "");                   /* it is not ready */
    begin(s, BOTH, 0);
    heard_acks(w, s, "2 -3");
    deliver(s, 0, 4);                       /* given again, to whomever */
    event(w, sub, 4);
    assert_int_equal(ensign_ack(w->client, sub, token[4]), ENSIGN_OK);
    heard_acks(w, s, "4");
    nothing(w, sub);                        /* and no GAP */
}

/* The window takes only a part of an ack before the stream is lost: all of it goes out on the next one. */
SCRIPT(an_ack_that_was_cut_goes_out_anew)
{
    ensign_subscription_desc_t d = of_group();
    ensign_subscription_t sub;
    uint64_t token;
    stream_t *s;
    size_t opening;
    world_create(w);
    sub = subscribe(w, &d);
    s = opened(w, 0, "\"g\"");
    opening = s->in.len;
    s->unread = true;                       /* no more than the window is taken */
    peer_setting(w, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 30);
    begin(s, BOTH, 0);
    deliver(s, 0, 1);
    deliver(s, 0, 2);
    token = event(w, sub, 1);
    assert_int_equal(ensign_ack(w->client, sub, token), ENSIGN_OK);
    token = event(w, sub, 2);
    assert_int_equal(ensign_ack(w->client, sub, token), ENSIGN_OK);
    world_settle(w);
    assert_int_equal(s->in.len, opening + 30); /* an ack, and a part of another one */
    cut(w);
    s = opened(w, 1, "\"g\"");
    begin(s, BOTH, 0);
    heard_acks(w, s, "2");
}

SCRIPT(a_group_without_resume_has_its_gap)
{
    ensign_subscription_desc_t d = of_group();
    ensign_subscription_t sub;
    uint64_t token;
    stream_t *s;
    world_create(w);
    d.resume = false;
    sub = subscribe(w, &d);
    s = opened(w, 0, "\"g\"");
    begin(s, BOTH, 3);
    deliver(s, 0, 4);
    token = event(w, sub, 4);
    cut(w);
    gap(w, sub, ENSIGN_E_CLOSED, 4);
    s = opened(w, 1, "\"g\"");
    begin(s, BOTH, 4);
    assert_int_equal(ensign_ack(w->client, sub, token), ENSIGN_OK);
    heard_acks(w, s, "4");
}

SCRIPT(a_new_group_begins_at_an_offset)
{
    ensign_subscription_desc_t d = of_group();
    ensign_subscription_t sub;
    stream_t *s;
    world_create(w);
    d.from = 4;
    sub = subscribe(w, &d);
    s = opened(w, 0, "\"g\" weather 3 traffic 3");
    begin(s, BOTH, 9);
    deliver(s, 0, 5);
    deliver(s, 0, 4);                       /* the group's order is the server's */
    event(w, sub, 5);
    event(w, sub, 4);
    cut(w);
    begin(opened(w, 1, "\"g\" weather 3 traffic 3"), BOTH, 9);
    nothing(w, sub);
    d.topic_count = 0;                      /* the stream that teaches the names does not make the group */
    sub = subscribe(w, &d);
    begin(opened(w, 2, "-"), BOTH, 9);
    begin(opened(w, 3, "\"g\" weather 3 traffic 3"), BOTH, 9);
    nothing(w, sub);
}

SCRIPT(a_group_of_a_server_without_places_has_gaps)
{
    ensign_subscription_desc_t d = of_group();
    ensign_subscription_t sub;
    stream_t *s;
    w->on_headers = refuse_queries;
    world_create(w);
    sub = subscribe(w, &d);
    begin_with(opened(w, 0, "\"g\""), BOTH, NULL);
    s = opened(w, 1, "\"g\"");
    begin_with(s, BOTH, NULL);
    deliver(s, 0, 1);
    event(w, sub, 1);
    cut(w);
    gap(w, sub, ENSIGN_E_UNIMPLEMENTED, 1);
    gap(w, sub, ENSIGN_E_UNIMPLEMENTED, 1);
    begin(opened(w, 2, "\"g\""), BOTH, 9);
    nothing(w, sub);
    cut(w);
    begin_with(opened(w, 3, "\"g\""), BOTH, "8 9");
    gap(w, sub, ENSIGN_E_DATA_LOSS, 1);
    nothing(w, sub);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(a_break_leaves_no_gap),
        IN_MODES(what_waits_to_be_pulled_is_not_asked_for_again),
        IN_MODES(what_comes_twice_is_given_once),
        IN_MODES(fields_in_another_order_have_a_place),
        IN_MODES(goaway_leaves_no_gap),
        IN_MODES(a_server_without_places_leaves_a_gap),
        IN_MODES(a_header_that_says_nothing_is_none),
        IN_MODES(a_server_that_has_lost_its_places_leaves_a_gap),
        IN_MODES(another_epoch_leaves_a_gap),
        IN_MODES(a_log_without_its_end_leaves_a_gap),
        IN_MODES(an_event_of_another_epoch_has_no_place),
        IN_MODES(an_event_of_another_topic_has_no_place),
        IN_MODES(gaps_with_nothing_between_them_are_one),
        IN_MODES(a_gap_has_room_before_the_first_event),
        IN_MODES(a_topic_that_was_made_meanwhile_is_whole),
        IN_MODES(topics_that_are_new_each_time_leave_a_gap),
        IN_MODES(a_topic_that_is_gone_is_asked_for_no_more),
        IN_MODES(many_topics_stay_within_the_bound),
        IN_MODES(what_is_too_large_is_not_asked_for_again),
        IN_MODES(large_events_in_a_full_buffer_do_not_stall),
        IN_MODES(a_subscription_begins_at_an_offset),
        IN_MODES(the_start_is_behind_nothing),
        IN_MODES(all_topics_begin_at_an_offset),
        IN_MODES(topics_by_their_id_begin_at_an_offset),
        IN_MODES(a_server_without_places_begins_with_a_gap),
        IN_MODES(an_offset_beyond_the_log_is_a_gap),
        IN_MODES(the_acks_of_a_group_outlive_a_stream),
        IN_MODES(an_ack_that_was_cut_goes_out_anew),
        IN_MODES(a_group_without_resume_has_its_gap),
        IN_MODES(a_new_group_begins_at_an_offset),
        IN_MODES(a_group_of_a_server_without_places_has_gaps),
    };
    return cmocka_run_group_tests_name("resume", tests, NULL, NULL);
}
