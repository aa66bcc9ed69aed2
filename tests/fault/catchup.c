/* A subscription that resumes from a server without places, through breaks: with the Nth allocation failing,
 * for every N, with the link cut at the Nth byte, for every N, and with cuts, pauses and new topics by chance.
 * Each event comes once, in order within its topic, without a GAP. */
#include "../seq/shelves.h"

enum { TOPICS = 3, EVENTS = 40, SEEDS = 300, CUTS = 1500 };
#include "sweeps.h"

typedef struct reader_t {
    ensign_subscription_t sub;
    size_t at[SHELVES];             /* of the event that comes next, in its topic */
    unsigned got;
    bool open, begun, ended;
} reader_t;

static reader_t reader;

/* ------------------------------------------------------------------ the program */
/* Which topic has it, and is it the next one there? */
static void note_event(world_t *w, const ensign_event_t *e)
{
    uint64_t number = be64_get(e->data.ptr);
    for (unsigned i = 0; i < shelves.count; i++) {
        const shelf_t *s = &shelves.shelf[i];
        if (memcmp(s->id, e->topic_id.b, sizeof s->id) != 0) continue;
        assert_text(e->topic_name, s->name);
        if (reader.at[i] >= s->count || s->numbers[reader.at[i]] != number)
            world_fail(w, "event %u of %s, which is not the next one", (unsigned)number, s->name);
        reader.at[i]++;
        reader.got++;
        if (e->token) ensign_ack(w->client, reader.sub, e->token);
        return;
    }
    world_fail(w, "event %u is of no topic", (unsigned)number);
}

static void note(world_t *w, const ensign_notice_t *n)
{
    if (n->type == ENSIGN_NOTICE_END)
        world_fail(w, "the subscription has ended: %s", n->error ? n->error->text : "");
    if (n->type == ENSIGN_NOTICE_GAP) world_fail(w, "a GAP: %s", n->error->text);
    if (n->type == ENSIGN_NOTICE_OPEN) reader.open = reader.begun = true;
    if (n->type == ENSIGN_NOTICE_EVENT) note_event(w, n->as.event);
}

static void publish(world_t *w, unsigned count)
{
    while (count-- > 0 && shelves.newest < EVENTS) shelf_publish(w, (unsigned)(shelves.newest * 7 % TOPICS));
}

/* Makes the topics, with some events from before. */
static void begin(world_t *w)
{
    shelves_reset();
    memset(&reader, 0, sizeof reader);
    for (unsigned i = 0; i < TOPICS; i++) shelf_make(service_topic_name(i));
    publish(w, 5);
    for (unsigned i = 0; i < TOPICS; i++) reader.at[i] = shelves.shelf[i].count;
    reader.got = 5;
    w->on_message = shelves_message;
}

static bool open_reader(world_t *w, ensign_subscription_desc_t *d)
{
    memset(d, 0, sizeof *d);
    d->resume = true;
    d->window_bytes = d->max_event_bytes = 1024;
    if (ensign_create(&w->desc, &w->client, &w->why) != ENSIGN_OK) return false;
    reader.sub = ensign_subscription_open(w->client, d);
    return reader.sub.id != 0;
}

static bool pull(world_t *w, unsigned most)
{
    const ensign_notice_t *n;
    bool moved = false;
    while (most-- > 0 && (n = world_pull_any(w, reader.sub.id)) != NULL) {
        if (n->type == ENSIGN_NOTICE_WAITING) reader.open = false;
        note(w, n);
        moved = true;
    }
    return moved;
}

static void check_memory(const world_t *w, const ensign_subscription_desc_t *d)
{
    if (w->live > ensign_memory_bound(&w->desc) + ensign_subscription_memory_bound(d))
        world_fail(&world, "%zu bytes are above the bounds", w->live);
}

static void pass_time(world_t *w, uint64_t due)
{
    int t = ensign_timeout(w->client, w->now);
    w->now += t > 0 ? (uint64_t)t : 1;
    if (w->now > due) world_fail(w, "%u of %u events have come", reader.got, (unsigned)shelves.newest);
}

/* All is published in parts, the link breaks by plan, and all comes. False: there was no memory to begin. */
static bool play(world_t *w)
{
    ensign_subscription_desc_t d;
    unsigned breaks = 0;
    uint64_t due = w->now + 120000;
    begin(w);
    if (!open_reader(w, &d)) return false;
    while (reader.got < EVENTS) {
        bool moved = world_round(w);
        moved |= pull(w, 1000);
        check_memory(w, &d);
        if (moved) continue;
        if (reader.begun && reader.got == shelves.newest) publish(w, 3);
        else pass_time(w, due);
        if (reader.got >= 12 * (breaks + 1)) {
            breaks++;
            world_cut(w, ENSIGN_LINK_RPC, 0);
            publish(w, 5);
        }
    }
    return true;
}

/* The same by chance, and more. */
static void play_by_chance(world_t *w)
{
    ensign_subscription_desc_t d;
    uint64_t due = w->now + 600000;
    unsigned steps = 0;
    begin(w);
    shelves.twice = world_below(w, 2) != 0;
    assert_true(open_reader(w, &d));
    while (reader.got < shelves.newest || steps < 600) {
        bool moved = world_round(w);
        bool calm = ++steps > 600;
        if (steps == 601) world_cut(w, ENSIGN_LINK_RPC, 0); /* for topics that were made since the last one */
        shelves.at_ready = reader.begun && !calm ? world_below(w, 4) : 0;
        shelves.behind_ready = reader.begun && !calm ? world_below(w, 4) : 0;
        if (calm || world_below(w, 3)) moved |= pull(w, calm ? 1000 : world_below(w, 5));
        check_memory(w, &d);
        if (!reader.begun && steps > 600) steps = 0;
        if (reader.begun && !calm && world_below(w, 6) == 0) shelf_publish(w, world_below(w, shelves.count));
        if (reader.begun && !calm && world_below(w, 60) == 0) world_cut(w, ENSIGN_LINK_RPC, 0);
        if (reader.begun && !calm && world_below(w, 200) == 0 && shelves.count < TOPICS + 4)
            shelf_make(service_topic_name(shelves.count));
        if (!moved) pass_time(w, due);
    }
}

/* ------------------------------------------------------------------ the sweeps */
static void cuts_and_pauses_by_chance(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed += fewer()) {
        again(&world, seed % 2 ? WHOLE : RANDOM, world_base_seed() + seed, "by chance");
        play_by_chance(&world);
        world_close(&world);
    }
    world.finished = true;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(each_allocation_fails_once, script_after),
        cmocka_unit_test_teardown(the_link_is_cut_at_each_byte_in, script_after),
        cmocka_unit_test_teardown(the_link_is_cut_at_each_byte_out, script_after),
        cmocka_unit_test_teardown(cuts_and_pauses_by_chance, script_after),
    };
    return cmocka_run_group_tests_name("catchup faults", tests, NULL, NULL);
}
