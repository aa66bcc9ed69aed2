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

typedef struct reader_t {
    ensign_subscription_t sub;
    stream_t *s;                            /* the newest one of those that the script has looked at */
    size_t streams;                         /* how many these are */
} reader_t;

static reader_t reader;

static void subscribe(world_t *w, ensign_subscription_desc_t d)
{
    reader.sub = ensign_subscription_open(w->client, &d);
    if (!reader.sub.id) world_fail(w, "ensign_subscription_open refused a good subscription");
}

/* The first subscription of a script, which has a client then. */
static void open_reader(world_t *w, ensign_subscription_desc_t d)
{
    memset(&reader, 0, sizeof reader);
    world_create(w);
    subscribe(w, d);
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

/* The next of them comes, and asks for this. */
static void opened(world_t *w, const char *want)
{
    size_t i = reader.streams++;
    const char *found;
    world_until(w, subscribed(w, i) != NULL);
    reader.s = subscribed(w, i);
    found = asked(world_request(w, reader.s));
    if (strcmp(found, want) != 0) world_fail(w, "stream %zu asks for %s instead of %s", i, found, want);
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
static void begin_with(unsigned topics, const char *header)
{
    bytes_t ready = {0}, reply = {0};
    if (header)
        peer_headers(reader.s, "200", "content-type", "application/grpc", "ensign-place", header, NULL);
    put_topics(&ready, topics);
    enc_message(&reply, 2, &ready);
    peer_send(reader.s, &reply);
}

static void begin(unsigned topics, uint64_t offset)
{
    char header[64];
    snprintf(header, sizeof header, "%d %llu", EPOCH, (unsigned long long)offset);
    begin_with(topics, header);
}

/* The next stream asks for this, and it begins with this header. */
static void next_stream_with(world_t *w, const char *want, const char *header)
{
    opened(w, want);
    begin_with(BOTH, header);
}

/* The next stream asks for this, and it begins behind the offset. */
static void next_stream(world_t *w, const char *want, uint64_t offset)
{
    opened(w, want);
    begin(BOTH, offset);
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

static void deliver_sized(unsigned topic, uint64_t offset, size_t size)
{
    bytes_t reply = {0};
    put_event(&reply, topic, offset, EPOCH, size, false);
    peer_send(reader.s, &reply);
}

static void deliver(unsigned topic, uint64_t offset)
{
    deliver_sized(topic, offset, 0);
}

static void deliver_of(unsigned topic, uint64_t offset, uint64_t epoch, bool odd)
{
    bytes_t reply = {0};
    put_event(&reply, topic, offset, epoch, 0, odd);
    peer_send(reader.s, &reply);
}

static void cut(world_t *w)
{
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
}

/* The stream breaks, and the next one asks for this. It begins behind the offset. */
static void breaks(world_t *w, const char *want, uint64_t offset)
{
    cut(w);
    next_stream(w, want, offset);
}

/* ------------------------------------------------------------------ the program */
static const ensign_notice_t *next(world_t *w)
{
    const ensign_notice_t *n;
    do n = world_next(w, reader.sub.id); while (n->type == ENSIGN_NOTICE_OPEN);
    return n;
}

/* The event with this offset comes next, and nothing before it. */
static uint64_t event(world_t *w, uint64_t offset)
{
    const ensign_notice_t *n = next(w);
    if (n->type != ENSIGN_NOTICE_EVENT)
        world_fail(w, "%s instead of event %d: %s", ensign_notice_name(n->type), (int)offset,
                   n->error ? n->error->text : "");
    if (n->as.event->offset != offset)
        world_fail(w, "event %d instead of %d", (int)n->as.event->offset, (int)offset);
    return n->as.event->token;
}

/* These events come on the stream, and are given in this order: "w12 t15" are the first letters of their
 * topics, and their offsets. */
static void pass(world_t *w, const char *events)
{
    for (int turn = 0; turn < 2; turn++) {
        const char *at = events;
        while (*at) {
            unsigned topic = *at == 'w' ? 0 : *at == 't' ? 1 : 2;
            char *end;
            uint64_t offset = strtoull(at + 1, &end, 10);
            if (turn == 0) deliver(topic, offset);
            else event(w, offset);
            at = end + (*end == ' ');
        }
    }
}

static void events(world_t *w, uint64_t first, uint64_t last)
{
    for (uint64_t offset = first; offset <= last; offset++) event(w, offset);
}

/* A GAP comes next, behind the event of the offset `since`; NONE: behind no event. */
static void gap(world_t *w, int code, uint64_t since)
{
    const ensign_notice_t *n = next(w);
    if (n->type != ENSIGN_NOTICE_GAP)
        world_fail(w, "%s instead of a GAP", ensign_notice_name(n->type));
    if (n->error->code != code)
        world_fail(w, "a GAP with the code %d instead of %d: %s", n->error->code, code, n->error->text);
    assert_int_equal(n->as.gap.times, 1);
    assert_int_equal(n->as.gap.since.seconds, since == NONE ? 0 : 1600000000 + (int64_t)since);
}

static void nothing(world_t *w)
{
    const ensign_notice_t *n;
    world_settle(w);
    while ((n = world_pull(w, reader.sub.id)) != NULL)
        if (n->type != ENSIGN_NOTICE_OPEN)
            world_fail(w, "%s where none was due", ensign_notice_name(n->type));
}

/* ------------------------------------------------------------------ resume */
SCRIPT(a_break_leaves_no_gap)
{
    open_reader(w, of_both());
    next_stream(w, "-", 10);
    pass(w, "w12 w15");
    breaks(w, "\"\" weather 15 traffic 10", 20); /* the quiet one goes on where the stream began */
    pass(w, "t11 w16 t19");
    nothing(w);
    peer_finish(reader.s, ENSIGN_GRPC_UNAVAILABLE, "maintenance", NULL);
    next_stream(w, "\"\" weather 16 traffic 19", 20);
    nothing(w);
    breaks(w, "\"\" weather 16 traffic 19", 21); /* of a stream without events */
    pass(w, "w21");
    nothing(w);
    assert_int_equal(w->stream_count, 4);
}

SCRIPT(what_waits_to_be_pulled_is_not_asked_for_again)
{
    bytes_t reply = {0};
    open_reader(w, of_both());
    next_stream(w, "-", 0);
    deliver(0, 1);
    deliver(1, 2);
    deliver(0, 3);
    put_event(&reply, 0, 4, EPOCH, 900, false);
    peer_prefix(reader.s, 0, reply.len);
    peer_raw(reader.s, reply.p, reply.len - 1);    /* cut in the midst */
    bytes_free(&reply);
    breaks(w, "\"\" weather 3 traffic 2", 5);
    deliver(0, 4);
    world_settle(w);
    events(w, 1, 4);
    nothing(w);
}

SCRIPT(what_comes_twice_is_given_once)
{
    open_reader(w, of_both());
    next_stream(w, "-", 3);
    pass(w, "w2 w4");                       /* the server's own idea of live: no resume has been asked for */
    breaks(w, "\"\" weather 4 traffic 3", 9);
    for (uint64_t offset = 2; offset <= 6; offset++) deliver(0, offset);
    deliver_of(0, 6, EPOCH, true);
    deliver(1, 3);
    deliver(1, 5);
    deliver(0, 9);
    event(w, 5);
    event(w, 6);
    event(w, 5);
    event(w, 9);
    nothing(w);
}

SCRIPT(fields_in_another_order_have_a_place)
{
    open_reader(w, of_both());
    next_stream(w, "-", 0);
    deliver_of(0, 5, EPOCH, true);
    event(w, 5);
    breaks(w, "\"\" weather 5 traffic 0", 5);
    nothing(w);
}

SCRIPT(goaway_leaves_no_gap)
{
    open_reader(w, of_both());
    next_stream(w, "-", 0);
    pass(w, "w1");
    peer_goaway_notice(w);
    world_settle(w);
    if (w->conn[ENSIGN_LINK_RPC] == reader.s->conn) peer_goaway(w, reader.s->id, NGHTTP2_NO_ERROR, NULL);
    opened(w, "\"\" weather 1 traffic 0");
    assert_int_equal(reader.s->conn->number, 1);
    begin(BOTH, 2);
    pass(w, "w2");
    nothing(w);
}

/* ------------------------------------------------------------------ not honoured */
/* A server that has no queries either: what is missing cannot be had from it. */
static void refuse_queries(world_t *w, stream_t *s)
{
    (void)w;
    if (strstr(peer_field(s, ":path"), "/EnSQL"))
        peer_refuse(s, ENSIGN_GRPC_UNIMPLEMENTED, "no such method");
}

static void no_place(world_t *w, const char *header)
{
    w->on_headers = refuse_queries;
    open_reader(w, of_both());
    next_stream_with(w, "-", header);       /* it tells the topics, and is closed again */
    next_stream_with(w, "-", header);
    deliver(0, 1);
    cut(w);
    event(w, 1);
    gap(w, ENSIGN_E_UNIMPLEMENTED, 1);      /* of each topic */
    gap(w, ENSIGN_E_UNIMPLEMENTED, 1);
    next_stream_with(w, "-", header);
    pass(w, "w3");
    nothing(w);
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
    w->on_headers = refuse_queries;
    open_reader(w, of_both());
    next_stream(w, "-", 4);
    cut(w);
    next_stream_with(w, "\"\" weather 4 traffic 4", NULL);
    gap(w, ENSIGN_E_CLOSED, NONE);
    next_stream_with(w, "-", NULL);
    deliver_of(0, 0, 0, false);
    event(w, 0);
    cut(w);
    gap(w, ENSIGN_E_UNIMPLEMENTED, 0);
    gap(w, ENSIGN_E_UNIMPLEMENTED, 0);
    next_stream(w, "-", 9);
    nothing(w);
    breaks(w, "\"\" weather 9 traffic 9", 9);
    nothing(w);
}

SCRIPT(another_epoch_leaves_a_gap)
{
    open_reader(w, of_both());
    next_stream(w, "-", 4);
    pass(w, "w5");
    cut(w);
    next_stream_with(w, "\"\" weather 5 traffic 4", "8 100");
    deliver_of(0, 6, 8, false);
    gap(w, ENSIGN_E_DATA_LOSS, 5);
    event(w, 6);
    cut(w);
    next_stream_with(w, "\"\" weather 6 traffic 4", "8 100");   /* where the server has begun the quiet one */
    deliver_of(1, 5, 8, false);
    event(w, 5);
    nothing(w);
}

SCRIPT(a_log_without_its_end_leaves_a_gap)
{
    open_reader(w, of_both());
    next_stream(w, "-", 4);
    pass(w, "w9");
    breaks(w, "\"\" weather 9 traffic 4", 8);
    deliver(0, 9);                          /* another one than that before */
    gap(w, ENSIGN_E_DATA_LOSS, 9);
    event(w, 9);
    nothing(w);
}

/* An event of which it cannot be told where it stands: the next break is a GAP, and all is well again. */
static void unplaced(world_t *w, unsigned topic, uint64_t offset, uint64_t epoch)
{
    open_reader(w, of_both());
    next_stream(w, "-", 4);
    deliver_of(topic, offset, epoch, false);
    event(w, offset);
    cut(w);
    gap(w, ENSIGN_E_CLOSED, offset);
    next_stream(w, "-", 8);
    nothing(w);
    breaks(w, "\"\" weather 8 traffic 8", 8);
    nothing(w);
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
    const ensign_notice_t *n;
    open_reader(w, of_both());
    next_stream(w, "-", 4);
    breaks(w, "\"\" weather 4 traffic 4", 3);
    cut(w);
    next_stream_with(w, "\"\" weather 3 traffic 3", "8 9");
    world_settle(w);
    n = next(w);
    assert_int_equal(n->type, ENSIGN_NOTICE_GAP);
    assert_int_equal(n->as.gap.times, 2);
    nothing(w);
}

/* The GAP is longer than a `ready` without anything in it, and events stand right behind that. */
SCRIPT(a_gap_has_room_before_the_first_event)
{
    ensign_subscription_desc_t d = of_both();
    bytes_t ready = {0}, reply = {0};
    d.window_bytes = 1024;
    open_reader(w, d);
    next_stream(w, "-", 0);
    for (uint64_t offset = 1; offset <= 5; offset++) deliver_sized(0, offset, 100);
    cut(w);
    opened(w, "\"\" weather 5 traffic 0");
    enc_message(&reply, 2, &ready);
    peer_prefix(reader.s, 0, reply.len);
    bytes_add(&reader.s->out, reply.p, reply.len);
    bytes_free(&reply);
    for (uint64_t offset = 6; offset <= 30; offset++) deliver_sized(0, offset, 100);
    world_settle(w);
    events(w, 1, 5);
    gap(w, ENSIGN_E_CLOSED, 5);
    events(w, 6, 30);
    nothing(w);
}

/* ------------------------------------------------------------------ topics come and go */
SCRIPT(a_topic_that_was_made_meanwhile_is_whole)
{
    ensign_subscription_desc_t d = of_both();
    d.topic_count = 0;
    open_reader(w, d);
    opened(w, "-");
    begin(WEATHER, 10);
    pass(w, "w14");
    cut(w);
    opened(w, "\"\" weather 14");
    begin(WEATHER | NEW, 20);
    deliver(0, 15);                         /* nothing of it is lost when it is not used */
    opened(w, "\"\" weather 14 new 10");
    assert_int_equal(reader.s->conn->number, 1);
    begin(WEATHER | NEW, 20);
    pass(w, "n12 w15");
    nothing(w);
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
    d.topic_count = 0;
    open_reader(w, d);
    opened(w, "-");
    begin_with_count(reader.s, 1);
    cut(w);
    for (unsigned i = 1; i <= 5; i++) begin_with_count(world_stream(w, i), i + 1);
    gap(w, ENSIGN_E_CLOSED, NONE);
    reader.s = w->streams[5];               /* this one is used */
    reader.streams = 6;
    deliver(5, 22);
    event(w, 22);
    cut(w);
    next_stream_with(w, "\"\" weather 21 t1 21 t2 21 t3 21 t4 21 t5 22", "7 22");
    nothing(w);
}

SCRIPT(a_topic_that_is_gone_is_asked_for_no_more)
{
    open_reader(w, of_both());
    next_stream(w, "-", 10);
    cut(w);
    opened(w, "\"\" weather 10 traffic 10");
    begin(TRAFFIC, 10);
    cut(w);
    opened(w, "\"\" traffic 10");
    begin(TRAFFIC, 10);
    nothing(w);
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
    d.topic_count = 0;
    d.window_bytes = 1024;
    d.max_event_bytes = (uint32_t)most;
    bound = ensign_memory_bound(&w->desc) + ensign_subscription_memory_bound(&d);
    open_reader(w, d);
    for (unsigned i = 0; i < 8; i++) {
        stream_t *s = world_stream(w, i);
        assert_true(world_request(w, s).len > (i ? most / 3 : 0));
        begin_with_many(s, most, (i + 1) / 2); /* each second one is asked for again, with the new names */
        world_settle(w);
        world_pull(w, reader.sub.id);       /* OPEN, which needs its map while it stands */
        if (i % 2 == 0) cut(w);
    }
    if (w->live_peak > bound) world_fail(w, "%zu bytes were held, %zu are the bound", w->live_peak, bound);
    nothing(w);
}

/* ------------------------------------------------------------------ what is too large */
static ensign_subscription_desc_t of_small_events(void)
{
    ensign_subscription_desc_t d = of_both();
    d.max_event_bytes = d.window_bytes = 1024;
    return d;
}

SCRIPT(what_is_too_large_is_not_asked_for_again)
{
    open_reader(w, of_small_events());
    next_stream(w, "-", 0);
    deliver(0, 1);
    deliver_sized(0, 2, 3000);
    event(w, 1);
    gap(w, ENSIGN_E_TOO_LARGE, 1);
    breaks(w, "\"\" weather 2 traffic 0", 3);
    deliver_sized(0, 2, 3000);              /* again all the same: it has had its GAP */
    pass(w, "w3");
    nothing(w);
}

/* Its first bytes tell its place, however they come and however full the buffer is. */
SCRIPT(large_events_in_a_full_buffer_do_not_stall)
{
    open_reader(w, of_small_events());
    next_stream(w, "-", 0);
    for (uint64_t i = 0; i < 20; i++) {
        deliver_sized(0, 2 * i + 1, 100 + 40 * (size_t)i);
        deliver_sized(0, 2 * i + 2, 1100 + world_below(w, 2000));
    }
    for (uint64_t i = 0; i < 20; i++) {
        event(w, 2 * i + 1);
        gap(w, ENSIGN_E_TOO_LARGE, 2 * i + 1);
    }
    breaks(w, "\"\" weather 40 traffic 0", 40);
    nothing(w);
}

/* ------------------------------------------------------------------ from */
SCRIPT(a_subscription_begins_at_an_offset)
{
    ensign_subscription_desc_t d = of_both();
    d.resume = false;
    d.from = 5;
    open_reader(w, d);
    next_stream(w, "\"\" weather 4 traffic 4", 9);
    pass(w, "t5 w6");
    breaks(w, "-", 9);                      /* it is where the first stream begins, and no more */
    gap(w, ENSIGN_E_CLOSED, 6);
    pass(w, "w10");
    nothing(w);
}

SCRIPT(the_start_is_behind_nothing)
{
    ensign_subscription_desc_t d = of_both();
    d.from = ENSIGN_FROM_START;
    d.topic_count = 1;
    open_reader(w, d);
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET); /* before it was ready */
    opened(w, "\"\" weather 0");
    opened(w, "\"\" weather 0");
    begin(WEATHER, 9);
    nothing(w);
    cut(w);
    opened(w, "\"\" weather 0");
    begin(WEATHER, 9);
    nothing(w);
}

/* Topics that the program does not name by name are learnt from a stream that is not used. */
static void learns(world_t *w, const char *const *topics, size_t count)
{
    ensign_subscription_desc_t d = of_both();
    d.topics = topics;
    d.topic_count = count;
    d.from = 3;
    open_reader(w, d);
    next_stream(w, "-", 9);
    deliver(0, 10);
    next_stream(w, "\"\" weather 2 traffic 2", 10);
    for (uint64_t offset = 3; offset <= 10; offset++) deliver(offset % 2, offset);
    assert_int_equal(world_next(w, reader.sub.id)->as.open.times, 1);
    events(w, 3, 10);
    nothing(w);
    assert_int_equal(w->waits, 0);
    breaks(w, "\"\" weather 10 traffic 9", 10);
    nothing(w);
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
    const ensign_notice_t *n;
    d.from = 77;
    d.resume = false;
    open_reader(w, d);
    next_stream_with(w, "\"\" weather 76 traffic 76", NULL);
    deliver_of(0, 0, 0, false);
    n = next(w);
    assert_int_equal(n->type, ENSIGN_NOTICE_GAP);
    assert_int_equal(n->error->code, ENSIGN_E_UNIMPLEMENTED);
    assert_non_null(strstr(n->error->text, "did not begin at `from`"));
    assert_int_equal(n->as.gap.since.seconds, 0);
    event(w, 0);
    d.topic_count = 0;
    subscribe(w, d);
    next_stream_with(w, "-", NULL);  /* this one is used */
    gap(w, ENSIGN_E_UNIMPLEMENTED, NONE);
    nothing(w);
    assert_int_equal(w->stream_count, 2);
}

SCRIPT(an_offset_beyond_the_log_is_a_gap)
{
    ensign_subscription_desc_t d = of_both();
    d.from = UINT64_MAX;
    open_reader(w, d);
    next_stream(w, "\"\" weather 18446744073709551614 traffic 18446744073709551614", 9);
    gap(w, ENSIGN_E_DATA_LOSS, NONE);
    pass(w, "w10");
    breaks(w, "\"\" weather 10 traffic 9", 10);
    nothing(w);
}

/* ------------------------------------------------------------------ groups */
/* The acks that the server hears on a stream, by the last byte of each RLID: "1 2 -3", nacks with a minus. */
static void heard_acks(world_t *w, const char *want)
{
    char text[200] = "";
    size_t at = 0;
    ensign_slice_t m, f, id;
    world_settle(w);
    while (peer_take(reader.s, &m)) {
        bool ack = dec_field(m, 1, &f);
        assert_true(ack || dec_field(m, 2, &f));
        assert_true(dec_field(f, 1, &id));
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s%d", at ? " " : "", ack ? "" : "-",
                               id.ptr[9]);
    }
    assert_int_equal(reader.s->in_at, reader.s->in.len);
    if (strcmp(text, want) != 0) world_fail(w, "acks of %s instead of %s", text, want);
}

static void ack(world_t *w, uint64_t token)
{
    assert_int_equal(ensign_ack(w->client, reader.sub, token), ENSIGN_OK);
}

static ensign_subscription_desc_t of_group(void)
{
    ensign_subscription_desc_t d = of_both();
    d.group = "g";
    return d;
}

SCRIPT(the_acks_of_a_group_outlive_a_stream)
{
    uint64_t token[5];
    open_reader(w, of_group());
    next_stream(w, "\"g\"", 0);
    for (uint64_t i = 1; i <= 4; i++) deliver(0, i);
    for (uint64_t i = 1; i <= 4; i++) token[i] = event(w, i);
    ack(w, token[1]);
    heard_acks(w, "1");
    cut(w);
    ack(w, token[2]);   /* without a stream */
    opened(w, "\"g\"");
    assert_int_equal(ensign_nack(w->client, reader.sub, token[3], ENSIGN_NACK_UNPROCESSED), ENSIGN_OK);
    heard_acks(w, "");                   /* it is not ready */
    begin(BOTH, 0);
    heard_acks(w, "2 -3");
    pass(w, "w4");                          /* given again, to whomever */
    ack(w, token[4]);
    heard_acks(w, "4");
    nothing(w);                             /* and no GAP */
}

/* The window takes only a part of an ack before the stream is lost: all of it goes out on the next one. */
SCRIPT(an_ack_that_was_cut_goes_out_anew)
{
    uint64_t token;
    size_t opening;
    open_reader(w, of_group());
    opened(w, "\"g\"");
    opening = reader.s->in.len;
    reader.s->unread = true;                /* no more than the window is taken */
    peer_setting(w, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 30);
    begin(BOTH, 0);
    deliver(0, 1);
    deliver(0, 2);
    token = event(w, 1);
    ack(w, token);
    token = event(w, 2);
    ack(w, token);
    world_settle(w);
    assert_int_equal(reader.s->in.len, opening + 30); /* an ack, and a part of another one */
    breaks(w, "\"g\"", 0);
    heard_acks(w, "2");
}

SCRIPT(a_group_without_resume_has_its_gap)
{
    ensign_subscription_desc_t d = of_group();
    uint64_t token;
    d.resume = false;
    open_reader(w, d);
    next_stream(w, "\"g\"", 3);
    deliver(0, 4);
    token = event(w, 4);
    cut(w);
    gap(w, ENSIGN_E_CLOSED, 4);
    next_stream(w, "\"g\"", 4);
    ack(w, token);
    heard_acks(w, "4");
}

SCRIPT(a_new_group_begins_at_an_offset)
{
    ensign_subscription_desc_t d = of_group();
    d.from = 4;
    open_reader(w, d);
    next_stream(w, "\"g\" weather 3 traffic 3", 9);
    pass(w, "w5 w4");                       /* the group's order is the server's */
    breaks(w, "\"g\" weather 3 traffic 3", 9);
    nothing(w);
    d.topic_count = 0;                      /* the stream that teaches the names does not make the group */
    subscribe(w, d);
    next_stream(w, "-", 9);
    next_stream(w, "\"g\" weather 3 traffic 3", 9);
    nothing(w);
}

SCRIPT(a_group_of_a_server_without_places_has_gaps)
{
    w->on_headers = refuse_queries;
    open_reader(w, of_group());
    next_stream_with(w, "\"g\"", NULL);
    next_stream_with(w, "\"g\"", NULL);
    pass(w, "w1");
    cut(w);
    gap(w, ENSIGN_E_UNIMPLEMENTED, 1);
    gap(w, ENSIGN_E_UNIMPLEMENTED, 1);
    next_stream(w, "\"g\"", 9);
    nothing(w);
    cut(w);
    next_stream_with(w, "\"g\"", "8 9");
    gap(w, ENSIGN_E_DATA_LOSS, 1);
    nothing(w);
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
