/* catchup.c - resume, and a server that keeps no places: what a break leaves out is read by EnSQL */
#include "shelves.h"

typedef struct { ensign_subscription_t sub; uint32_t window, largest; } reader_t;
static reader_t reader;

static void begin(world_t *w)
{
    shelves_reset();
    memset(&reader, 0, sizeof reader);
    w->on_message = shelves_message;
}

static void subscribe(world_t *w)
{
    ensign_subscription_desc_t d;
    memset(&d, 0, sizeof d);
    d.resume = true;
    d.window_bytes = reader.window;
    d.max_event_bytes = reader.largest;
    reader.sub = ensign_subscription_open(w->client, &d);
    assert_int_not_equal(reader.sub.id, 0);
}

static void expect_open(world_t *w)
{
    world_expect(w, reader.sub.id, ENSIGN_NOTICE_OPEN);
}

static void open_reader(world_t *w)
{
    world_create(w);
    subscribe(w);
    expect_open(w);
}

static void open_reader_with_key(world_t *w)
{
    world_create_with_key(w);
    subscribe(w);
    expect_open(w);
}

static uint64_t number_of(const ensign_notice_t *n)
{
    assert_true(n->as.event->data.len >= 8);
    return be64_get(n->as.event->data.ptr);
}

/* The next notice, OPEN passed over. */
static const ensign_notice_t *next(world_t *w)
{
    const ensign_notice_t *n;
    do n = world_next(w, reader.sub.id); while (n->type == ENSIGN_NOTICE_OPEN);
    return n;
}

/* It is this event. */
static const ensign_event_t *expect(world_t *w, uint64_t number)
{
    const ensign_notice_t *n = next(w);
    if (n->type != ENSIGN_NOTICE_EVENT)
        world_fail(w, "%s instead of event %u: %s", ensign_notice_name(n->type), (unsigned)number,
                   n->error ? n->error->text : "-");
    assert_int_equal(number_of(n), number);
    return n->as.event;
}

static const ensign_notice_t *expect_gap(world_t *w, const char *topic, const char *words)
{
    const ensign_notice_t *n = next(w);
    if (n->type != ENSIGN_NOTICE_GAP) world_fail(w, "%s instead of a GAP", ensign_notice_name(n->type));
    assert_text(n->as.gap.topic, topic);
    if (!strstr(n->error->text, words)) world_fail(w, "a GAP that does not say %s: %s", words, n->error->text);
    return n;
}

static void silent(world_t *w)
{
    world_silent(w, reader.sub.id);
}

static void cut(world_t *w)
{
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, 0);
}

static void publish(world_t *w, unsigned topic, unsigned count)
{
    while (count-- > 0) shelf_publish(w, topic);
}

/* The event that is published now has this number, and comes next. */
static void pass(world_t *w, unsigned topic, uint64_t number)
{
    publish(w, topic, 1);
    expect(w, number);
}

/* Opens the reader. It has had this one event of the first topic when the link breaks. */
static void read_one_and_break(world_t *w, uint64_t number)
{
    open_reader(w);
    pass(w, 0, number);
    cut(w);
}

/* ------------------------------------------------------------------ what is read */
SCRIPT(what_a_break_leaves_out_is_given)
{
    const ensign_event_t *e;
    uint64_t i;
    begin(w);
    shelf_make("weather");
    publish(w, 0, 3);
    open_reader(w);
    assert_int_equal(shelves.streams, 2); /* the first one told the topics */
    publish(w, 0, 2);
    expect(w, 4);
    cut(w);
    publish(w, 0, 200);
    for (i = 5; i <= 205; i++) {
        e = expect(w, i);
        assert_text(e->topic_name, "weather");
        assert_int_equal(ensign_ack(w->client, reader.sub, e->token), ENSIGN_OK);
    }
    expect_open(w);
    pass(w, 0, 206);
    silent(w);
}

SCRIPT(a_quiet_topic_has_a_place)
{
    unsigned asked;
    begin(w);
    shelf_make("weather");
    shelf_make("traffic");
    shelf_make("empty");
    publish(w, 0, 40);
    publish(w, 1, 7);
    open_reader(w);
    cut(w);
    publish(w, 1, 1);
    publish(w, 0, 1);
    publish(w, 2, 1);
    publish(w, 1, 1);
    expect(w, 49);
    expect(w, 48);
    expect(w, 51);
    expect(w, 50);
    expect_open(w);
    pass(w, 1, 52);
    world_settle(w);
    asked = shelves.asked;
    cut(w);
    expect_open(w);
    world_settle(w);
    assert_int_equal(shelves.asked - asked, 6); /* for each topic one before the stream, and one behind it */
    silent(w);
}

SCRIPT(what_comes_twice_is_given_once)
{
    uint64_t i;
    begin(w);
    shelf_make("weather");
    shelf_make("traffic");
    shelves.at_ready = 10;
    shelves.behind_ready = 10;
    shelves.twice = true;
    open_reader(w);
    for (i = 0; i < 3; i++) {
        uint64_t last[2] = { 0, 0 };
        unsigned k;
        for (k = 0; k < 20; k++) {
            const ensign_notice_t *n = next(w);
            uint64_t number;
            assert_int_equal(n->type, ENSIGN_NOTICE_EVENT);
            number = number_of(n);
            assert_true(number > last[number % 2]);
            last[number % 2] = number;
        }
        silent(w);
        cut(w);
    }
}

/* ------------------------------------------------------------------ what cannot be read */
SCRIPT(a_name_that_ensql_cannot_read_is_a_gap)
{
    unsigned asked;
    begin(w);
    shelf_make("orders");
    shelf_make("a.b");
    shelf_make("t");
    shelf_make("weather");
    publish(w, 3, 2);
    read_one_and_break(w, 3);
    asked = shelves.asked;
    publish(w, 0, 1);
    publish(w, 3, 1);
    expect_gap(w, "orders", "begins with a keyword");
    expect_gap(w, "a.b", "more than letters");
    expect_gap(w, "t", "boolean");
    expect(w, 5);
    publish(w, 0, 1);
    expect_open(w);
    pass(w, 0, 7);
    assert_true(shelves.asked - asked < 10);
    silent(w);
}

SCRIPT(a_topic_that_was_made_anew_is_a_gap_and_its_events)
{
    begin(w);
    shelf_make("weather");
    publish(w, 0, 5);
    read_one_and_break(w, 6);
    publish(w, 0, 3);
    shelf_make_anew(0);
    publish(w, 0, 3);
    expect_gap(w, "weather", "made anew");
    expect(w, 10);
    expect(w, 11);
    expect(w, 12);
    expect_open(w);
    pass(w, 0, 13);
    cut(w);
    shelf_make_anew(0);
    expect_gap(w, "weather", "made anew");
    expect_open(w);
    pass(w, 0, 14);
    silent(w);
}

SCRIPT(a_refusal_is_a_gap_with_its_reason)
{
    begin(w);
    shelf_make("weather");
    shelf_make("traffic");
    read_one_and_break(w, 1);
    shelves.refuse = ENSIGN_GRPC_PERMISSION_DENIED;
    shelves.refusals = 1;
    publish(w, 0, 1);
    publish(w, 1, 1);
    assert_int_equal(expect_gap(w, "weather", "the server says no")->error->code, ENSIGN_E_PERMISSION_DENIED);
    expect(w, 3);
    expect_open(w);
    pass(w, 0, 4);
    silent(w);
}

SCRIPT(a_failing_query_is_asked_again_and_then_a_gap)
{
    begin(w);
    shelf_make("weather");
    read_one_and_break(w, 1);
    shelves.refuse = ENSIGN_GRPC_INTERNAL;
    shelves.refusals = 4;
    pass(w, 0, 2);
    expect_open(w);
    cut(w);
    shelves.refuse = ENSIGN_GRPC_INTERNAL;
    shelves.refusals = 5;
    publish(w, 0, 1);
    expect_gap(w, "weather", "the server says no");
    expect_open(w);
    cut(w);
    shelves.refuse = ENSIGN_GRPC_UNAVAILABLE; /* that is told, and asked for as long as it takes */
    shelves.refusals = 20;
    publish(w, 0, 1);
    expect_gap(w, "weather", "its place");
    expect_open(w);
    pass(w, 0, 5);
    cut(w);
    pass(w, 0, 6);
    assert_int_equal(shelves.refusals, 0);
    expect_open(w);
    silent(w);
}

SCRIPT(a_server_that_stays_mute_is_told_and_asked_again)
{
    unsigned waits;
    begin(w);
    shelf_make("weather");
    read_one_and_break(w, 1);
    shelves.mute = true;
    publish(w, 0, 1);
    waits = w->waits;
    world_until(w, (world_pull(w, reader.sub.id), w->waits > waits && strstr(w->waits_for.text, "EnSQL")));
    shelves.mute = false;
    expect(w, 2);
    expect_open(w);
    silent(w);
}

SCRIPT(a_row_that_is_too_large_or_no_event_is_a_gap)
{
    begin(w);
    shelf_make("weather");
    reader.window = reader.largest = 4096;
    shelves.large = 3;
    shelves.large_bytes = 10000;
    shelves.odd = 5;
    read_one_and_break(w, 1);
    publish(w, 0, 6);
    expect(w, 2);
    assert_int_equal(expect_gap(w, "weather", "max_event_bytes")->error->code, ENSIGN_E_TOO_LARGE);
    expect(w, 4);
    assert_int_equal(expect_gap(w, "weather", "cannot be read as an Event")->error->code, ENSIGN_E_FORMAT);
    expect(w, 6);
    expect(w, 7);
    expect_open(w);
    pass(w, 0, 8);
    silent(w);
}

/* ------------------------------------------------------------------ while it runs */
static stream_t *newest_stream(world_t *w, const char *path)
{
    size_t i = w->stream_count;
    while (i-- > 0)
        if (strstr(peer_field(w->streams[i], ":path"), path)) return w->streams[i];
    return NULL;
}

/* The reader's buffer is small. A break has left out so many events, most of which wait at the server. */
static void rows_wait(world_t *w, unsigned count)
{
    begin(w);
    shelf_make("weather");
    reader.window = 1024;
    read_one_and_break(w, 1);
    publish(w, 0, count);
    expect(w, 2);
    world_settle(w);
}

SCRIPT(rows_stay_at_the_server_while_nobody_pulls)
{
    stream_t *s;
    uint64_t i;
    rows_wait(w, 500);
    s = newest_stream(w, "/EnSQL");
    assert_true(s->out.len - s->out_at > 15000);
    for (i = 3; i <= 501; i++) expect(w, i);
    expect_open(w);
    silent(w);
}

SCRIPT(another_break_begins_anew_behind_the_last_event)
{
    uint64_t i;
    begin(w);
    shelf_make("weather");
    reader.window = 1024;
    open_reader(w);
    publish(w, 0, 1);
    for (i = 1; i <= 600; i++) {
        expect(w, i);
        if (i % 37 == 0) publish(w, 0, i < 500 ? 12 : 1);
        if (i % 29 == 0) cut(w);
        if (i == shelves.newest && i < 600) publish(w, 0, 1 + (unsigned)(i % 50));
    }
}

/* The server ends its connection in good order, while rows wait at it. */
SCRIPT(goaway_moves_a_catch_up)
{
    uint64_t i;
    rows_wait(w, 300);
    peer_goaway_notice(w);
    for (i = 3; i <= 301; i++) expect(w, i);
    expect_open(w);
    assert_true(newest_stream(w, "/Subscribe")->conn->number >= 2);
    silent(w);
}

SCRIPT(a_token_that_expires_is_renewed_for_a_query)
{
    begin(w);
    shelf_make("weather");
    open_reader_with_key(w);
    pass(w, 0, 1);
    cut(w);
    shelves.refuse = ENSIGN_GRPC_UNAUTHENTICATED;
    shelves.refusals = 1;
    pass(w, 0, 2);
    expect_open(w);
    silent(w);
}

static char numbered[SHELVES][12];

/* Topics "n0", "n1" and so on, each with so many events. */
static void make_numbered(world_t *w, unsigned count, unsigned events)
{
    unsigned i;
    for (i = 0; i < count; i++) {
        snprintf(numbered[i], sizeof numbered[i], "n%u", i);
        shelf_make(numbered[i]);
        publish(w, i, events);
    }
}

/* Of many topics no end is looked for: the first event of the stream is a place in each of them. */
SCRIPT(many_topics_have_their_place_from_the_first_event)
{
    begin(w);
    make_numbered(w, 70, 3);
    open_reader(w);
    assert_int_equal(shelves.asked, 0);
    pass(w, 5, 211);
    cut(w);
    publish(w, 9, 1);
    pass(w, 5, 213);
    expect(w, 212);
    expect_open(w);
    silent(w);
    cut(w);
    pass(w, 69, 214);
    expect_open(w);
    silent(w);
}

SCRIPT(what_is_not_known_yet_is_a_gap)
{
    unsigned i;
    begin(w);
    make_numbered(w, 65, 0);
    open_reader(w);
    cut(w);
    for (i = 0; i < 65; i++) expect_gap(w, numbered[i], "before its place");
    expect_open(w);
    pass(w, 3, 1);
    silent(w);
}

/* A topic that is made during a break is whole. */
SCRIPT(a_topic_that_was_made_meanwhile_is_whole)
{
    begin(w);
    shelf_make("weather");
    open_reader(w);
    shelf_make("traffic");
    publish(w, 1, 2); /* the stream does not have it */
    pass(w, 0, 3);
    cut(w);
    publish(w, 1, 1);
    expect(w, 1);
    expect(w, 2);
    expect(w, 4);
    pass(w, 1, 5);
    silent(w);
}

/* Whatever a server answers, the subscription goes on, in order, and each event comes once. */
static void nonsense(world_t *w, unsigned kind, unsigned times, bool from_the_first)
{
    const ensign_notice_t *n;
    uint64_t last = 0, live = 0;
    begin(w);
    shelf_make("weather");
    shelves.nonsense = kind;
    publish(w, 0, 2);
    if (from_the_first) shelves.nonsenses = times;
    open_reader(w);
    publish(w, 0, 1);
    do { /* where it lied about the end, older ones come before */
        n = world_next(w, reader.sub.id);
        if (n->type == ENSIGN_NOTICE_EVENT) last = number_of(n);
    } while (last != 3);
    cut(w);
    if (!from_the_first) shelves.nonsenses = times;
    publish(w, 0, 2);
    do {
        n = world_next(w, reader.sub.id);
        if (n->type == ENSIGN_NOTICE_OPEN) live = shelf_publish(w, 0);
        if (n->type != ENSIGN_NOTICE_EVENT) continue;
        assert_true(number_of(n) > last);
        last = number_of(n);
    } while (last != live || live == 0);
    silent(w);
    world_close(w);
}

SCRIPT(nonsense_for_an_answer_is_survived)
{
    chunk_t mode = w->mode;
    const char *script = w->script;
    unsigned i;
    for (i = 0; i < NONSENSE * 6; i++) {
        world_begin(w, mode, world_base_seed() + i);
        w->script = script;
        nonsense(w, i / 6, 1 + i % 3 * 4, i % 6 < 3);
    }
    world_begin(w, mode, world_base_seed());
    w->script = script;
    world_create(w);
}

/* A server that is away for good: what waits is told, and the subscription ends when its time is up. */
SCRIPT(a_catch_up_gives_up_in_time)
{
    const ensign_notice_t *n;
    begin(w);
    shelf_make("weather");
    w->desc.give_up_after_ms = 20000;
    read_one_and_break(w, 1);
    shelves.refuse = ENSIGN_GRPC_UNAVAILABLE;
    n = world_next(w, reader.sub.id);
    assert_int_equal(n->type, ENSIGN_NOTICE_END);
    assert_int_equal(n->error->code, ENSIGN_E_UNAVAILABLE);
    assert_true(w->waits > 0);
}

SCRIPT(closing_ends_a_catch_up)
{
    const ensign_notice_t *n;
    rows_wait(w, 500);
    assert_int_equal(ensign_close(w->client, reader.sub.id, ENSIGN_FOREVER), ENSIGN_OK);
    expect(w, 3);
    do n = world_next(w, reader.sub.id); while (n->type == ENSIGN_NOTICE_EVENT);
    assert_int_equal(n->type, ENSIGN_NOTICE_END);
    assert_null(n->error);
    world_settle(w);
    assert_true(newest_stream(w, "/EnSQL")->reset);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(what_a_break_leaves_out_is_given),
        IN_MODES(a_quiet_topic_has_a_place),
        IN_MODES(what_comes_twice_is_given_once),
        IN_MODES(a_name_that_ensql_cannot_read_is_a_gap),
        IN_MODES(a_topic_that_was_made_anew_is_a_gap_and_its_events),
        IN_MODES(a_refusal_is_a_gap_with_its_reason),
        IN_MODES(a_failing_query_is_asked_again_and_then_a_gap),
        IN_MODES(a_server_that_stays_mute_is_told_and_asked_again),
        IN_MODES(a_row_that_is_too_large_or_no_event_is_a_gap),
        IN_MODES(rows_stay_at_the_server_while_nobody_pulls),
        IN_MODES(another_break_begins_anew_behind_the_last_event),
        IN_MODES(goaway_moves_a_catch_up),
        IN_MODES(a_token_that_expires_is_renewed_for_a_query),
        IN_MODES(many_topics_have_their_place_from_the_first_event),
        IN_MODES(what_is_not_known_yet_is_a_gap),
        IN_MODES(a_topic_that_was_made_meanwhile_is_whole),
        IN_MODES(nonsense_for_an_answer_is_survived),
        IN_MODES(a_catch_up_gives_up_in_time),
        IN_MODES(closing_ends_a_catch_up),
    };
    return cmocka_run_group_tests_name("catchup", tests, NULL, NULL);
}
