/* sweeps.h - for tests that read a subscription to its end with one fault in each run: the Nth allocation
 * fails, or the link is cut at the Nth byte, for every N
 *
 * A program defines CUTS before it includes this: the most cuts of one sweep. `play` is its own, too. */
#ifndef SWEEPS_H
#define SWEEPS_H
#include "../seq/service.h"

/* One run. False: there was no memory to begin. */
static bool play(world_t *w);

static void again(world_t *w, chunk_t mode, uint64_t seed, const char *script)
{
    world_begin(w, mode, seed);
    w->script = script;
}

static void each_allocation_fails_once(void **state)
{
    world_t *w = &world;
    uint64_t total;
    (void)state;
    again(w, WHOLE, world_base_seed(), "without a fault");
    assert_true(play(w));
    total = w->allocs;
    world_close(w);
    for (uint64_t n = 1; n <= total; n += fewer()) {
        char script[64];
        snprintf(script, sizeof script, "allocation %d of %d", (int)n, (int)total);
        again(w, WHOLE, world_base_seed(), script);
        w->fault = true;
        w->fail_at = n;
        play(w);
        world_close(w);
    }
    w->finished = true;
}

/* Over the bytes of all connections that a run without a cut has. */
static void cut_each(world_t *w, bool in)
{
    int64_t total = 0, step;
    again(w, WHOLE, world_base_seed(), "without a cut");
    assert_true(play(w));
    for (size_t i = 0; i < w->conn_count; i++) total += in ? w->conns[i]->bytes_in : w->conns[i]->bytes_out;
    world_close(w);
    step = (1 + total / CUTS) * (int64_t)fewer();
    for (int64_t n = 1; n <= total; n += step) {
        char script[64];
        snprintf(script, sizeof script, "cut at byte %d %s", (int)n, in ? "in" : "out");
        again(w, n % 2 ? WHOLE : RANDOM, world_base_seed(), script);
        if (in) w->cut_in[ENSIGN_LINK_RPC] = n;
        else w->cut_out[ENSIGN_LINK_RPC] = n;
        assert_true(play(w));
        world_close(w);
    }
    w->finished = true;
}

static void the_link_is_cut_at_each_byte_in(void **state)
{
    (void)state;
    cut_each(&world, true);
}

static void the_link_is_cut_at_each_byte_out(void **state)
{
    (void)state;
    cut_each(&world, false);
}
#endif
