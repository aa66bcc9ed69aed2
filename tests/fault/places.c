/* A subscription that resumes, read from a log to its end: with the Nth allocation failing, for every N, and
 * with the link cut at the Nth byte, for every N. Each event comes once, in order within its topic, and there
 * is no GAP. */
enum { TOPICS = 3, EVENTS = 18, CUTS = 3000 };
#include "sweeps.h"

typedef struct reader_t {
    ensign_subscription_t sub;
    uint64_t last[TOPICS];
    unsigned got;
    bool ended;
} reader_t;

static reader_t reader;

/* ------------------------------------------------------------------ the server */
/* The event with this offset is one of this topic. */
static unsigned topic_of(uint64_t offset)
{
    return (unsigned)(offset * 7 % TOPICS);
}

static void id_of(unsigned topic, uint8_t id[16])
{
    memset(id, 'a' + (int)topic, 16);
}

static void begin(stream_t *s)
{
    bytes_t ready = {0}, reply = {0};
    char header[32];
    snprintf(header, sizeof header, "1 %d", EVENTS);
    peer_headers(s, "200", "content-type", "application/grpc", "ensign-place", header, NULL);
    for (unsigned i = 0; i < TOPICS; i++) {
        bytes_t entry = {0};
        uint8_t id[16];
        id_of(i, id);
        enc_text(&entry, 1, service_topic_name(i));
        enc_bytes(&entry, 2, id, sizeof id);
        enc_message(&ready, 3, &entry);
    }
    enc_message(&reply, 2, &ready);
    peer_send(s, &reply);
}

static void deliver(stream_t *s, uint64_t offset)
{
    static const char fill[900];
    bytes_t e = {0}, wrap = {0}, reply = {0};
    uint8_t id[16];
    id_of(topic_of(offset), id);
    enc_bytes(&e, 2, fill, (size_t)(offset * 50 % sizeof fill));
    enc_bytes(&wrap, 1, id, 10);
    enc_bytes(&wrap, 2, id, 16);
    enc_uint(&wrap, 3, offset);
    enc_uint(&wrap, 4, 1);
    enc_message(&wrap, 9, &e);
    enc_message(&reply, 1, &wrap);
    peer_send(s, &reply);
}

/* What is behind the places that the request names; topics that it does not name begin live. */
static void serve(world_t *w, stream_t *s, ensign_slice_t m)
{
    uint64_t behind[TOPICS];
    ensign_slice_t sub, group = text_slice(""), name;
    dec_t d;
    (void)w;
    if (s->stage++ > 0) return;
    for (unsigned i = 0; i < TOPICS; i++) behind[i] = EVENTS;
    assert_true(dec_field(m, 3, &sub));
    dec_field(sub, 4, &group);
    for (d = dec_begin(group); dec_next(&d);) {
        assert_true(d.tag == 12 && dec_field(d.bytes, 1, &name));
        behind[service_topic_named(name, TOPICS)] = dec_uint(d.bytes, 2);
    }
    begin(s);
    for (uint64_t offset = 1; offset <= EVENTS; offset++)
        if (offset > behind[topic_of(offset)]) deliver(s, offset);
}

/* ------------------------------------------------------------------ the program */
static void note(world_t *w, const ensign_notice_t *n)
{
    if (n->type == ENSIGN_NOTICE_END) reader.ended = true;
    if (n->type == ENSIGN_NOTICE_GAP) world_fail(w, "a GAP: %s", n->error->text);
    if (n->type != ENSIGN_NOTICE_EVENT) return;
    {
        const ensign_event_t *e = n->as.event;
        unsigned topic = topic_of(e->offset);
        uint64_t want = reader.last[topic] + 1;
        while (topic_of(want) != topic) want++;
        if (e->offset != want)
            world_fail(w, "event %d of topic %u instead of %d", (int)e->offset, topic, (int)want);
        reader.last[topic] = want;
        reader.got++;
    }
}

/* Reads until all is there; a minute of the clock is a lot. False: there was no memory to begin. */
static bool play(world_t *w)
{
    ensign_subscription_desc_t d;
    uint64_t due;
    memset(&d, 0, sizeof d);
    memset(&reader, 0, sizeof reader);
    d.from = ENSIGN_FROM_START;
    d.resume = true;
    d.window_bytes = d.max_event_bytes = 1024;
    w->on_message = serve;
    if (ensign_create(&w->desc, &w->client, &w->why) != ENSIGN_OK) return false;
    reader.sub = ensign_subscription_open(w->client, &d);
    if (!reader.sub.id) return false;
    due = w->now + 60000;
    while (reader.got < EVENTS) {
        const ensign_notice_t *n;
        bool moved = world_round(w);
        int t;
        while ((n = world_pull(w, reader.sub.id)) != NULL) {
            note(w, n);
            moved = true;
        }
        if (w->live > ensign_memory_bound(&w->desc) + ensign_subscription_memory_bound(&d))
            world_fail(w, "%zu bytes are above the bounds", w->live);
        if (reader.ended) world_fail(w, "the subscription has ended");
        if (moved) continue;
        t = ensign_timeout(w->client, w->now);
        w->now += t > 0 ? (uint64_t)t : 1;
        if (w->now > due) world_fail(w, "%u of %d events have come", reader.got, EVENTS);
    }
    return true;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(each_allocation_fails_once, script_after),
        cmocka_unit_test_teardown(the_link_is_cut_at_each_byte_in, script_after),
        cmocka_unit_test_teardown(the_link_is_cut_at_each_byte_out, script_after),
    };
    return cmocka_run_group_tests_name("places", tests, NULL, NULL);
}
