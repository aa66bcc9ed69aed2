/* handle.c - section handle: numbers, generations, slots, the lists of those that live and of those that are
 * ready, the heap of timers; seeded models */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <stdio.h>
#include <cmocka.h>
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"

static ensi_mem_t mem;
static ensi_handles_t table;
static const ensi_kind_t any_kind; /* this section keeps it, and asks it nothing */

static void open_table(uint32_t count)
{
    memset(&mem, 0, sizeof mem);
    mem.alloc = ensi_mem_default;
    assert_true(ensi_handles_open(&table, &mem, count));
}

static void close_table(void)
{
    ensi_handles_close(&table, &mem);
    ensi_mem_close(&mem);
    assert_int_equal(mem.used, 0);
}

static void add(ensi_handle_t *h)
{
    memset(h, 0, sizeof *h);
    ensi_handle_add(&table, h, &any_kind, NULL);
}

static uint32_t slot_of(uint32_t id)
{
    return (id & 0xFFFF) - 1;
}

static void no_number_that_was_never_given_is_found(void **state)
{
    static const uint32_t numbers[] = { 0, 1, 2, 5, 0x10000, 0x10001, 0xFFFF, 0xFFFF0000, ENSIGN_CLIENT };
    ensi_handle_t h;
    (void)state;
    open_table(4);
    for (size_t i = 0; i < ENSI_COUNT(numbers); i++) assert_null(ensi_handle_find(&table, numbers[i]));
    add(&h);
    for (size_t i = 0; i < ENSI_COUNT(numbers); i++)
        assert_ptr_equal(ensi_handle_find(&table, numbers[i]), numbers[i] == h.id ? &h : NULL);
    assert_int_not_equal(h.id, 0);
    ensi_handle_remove(&table, &h);
    close_table();
}

static void a_stale_number_is_never_found(void **state)
{
    uint32_t last = 0;
    (void)state;
    open_table(1);
    for (unsigned i = 0; i < 65535; i++) {
        ensi_handle_t h;
        add(&h);
        assert_null(ensi_handle_find(&table, last));
        assert_ptr_equal(ensi_handle_find(&table, h.id), &h);
        assert_true(h.id != last && h.id != 0 && h.id != ENSIGN_CLIENT);
        last = h.id;
        ensi_handle_remove(&table, &h);
        assert_null(ensi_handle_find(&table, last));
    }
    close_table();
}

/* With as many slots as can be: no number is the client's, in any generation. */
static void the_client_s_number_is_never_given(void **state)
{
    ensi_handle_t *h = (ensi_handle_t *)calloc(65000, sizeof *h);
    (void)state;
    assert_non_null(h);
    open_table(65000); /* what create allows */
    for (unsigned generation = 0; generation < 3; generation++) {
        for (uint32_t i = 0; i < table.count; i++) {
            ensi_handle_add(&table, &h[i], &any_kind, NULL);
            assert_int_equal(slot_of(h[i].id), i);
            assert_int_not_equal(h[i].id & 0xFFFF, ENSIGN_CLIENT & 0xFFFF);
        }
        assert_false(ensi_handle_room(&table));
        for (uint32_t i = 0; i < table.count; i++) ensi_handle_remove(&table, &h[i]);
    }
    close_table();
    free(h);
}

static void slots_come_back_in_the_order_in_which_they_became_free(void **state)
{
    static const int order[] = { 2, 0, 3, 1 };
    ensi_handle_t h[4], again[4];
    (void)state;
    open_table(4);
    for (size_t i = 0; i < 4; i++) add(&h[i]);
    assert_false(ensi_handle_room(&table));
    for (size_t i = 0; i < 4; i++) {
        ensi_handle_remove(&table, &h[order[i]]);
        assert_true(ensi_handle_room(&table));
    }
    for (size_t i = 0; i < 4; i++) {
        add(&again[i]);
        assert_int_equal(slot_of(again[i].id), slot_of(h[order[i]].id));
        assert_int_equal(again[i].id >> 16, (h[order[i]].id >> 16) + 1);
    }
    for (size_t i = 0; i < 4; i++) ensi_handle_remove(&table, &again[i]);
    close_table();
}

static void the_ready_list_serves_in_order_and_each_once(void **state)
{
    ensi_handle_t h[5];
    (void)state;
    open_table(5);
    for (size_t i = 0; i < 5; i++) add(&h[i]);
    h[4].held = true;
    for (unsigned round = 0; round < 2; round++)
        for (size_t i = 0; i < 5; i++) ensi_ready_append(&table, &h[i]);
    assert_false(h[4].ready); /* a held one is passed over */
    ensi_ready_remove(&table, &h[2]);
    ensi_ready_remove(&table, &h[2]);
    ensi_ready_append(&table, &h[2]); /* to the end */
    ensi_handle_remove(&table, &h[1]); /* a handle that dies leaves the list */
    assert_ptr_equal(table.ready_head, &h[0]);
    assert_ptr_equal(h[0].after, &h[3]);
    assert_ptr_equal(h[3].after, &h[2]);
    assert_null(h[2].after);
    assert_ptr_equal(table.ready_tail, &h[2]);
    assert_ptr_equal(h[2].before, &h[3]);
    assert_ptr_equal(h[3].before, &h[0]);
    assert_null(h[0].before);
    while (table.ready_head) ensi_ready_remove(&table, table.ready_head);
    assert_null(table.ready_tail);
    close_table();
}

static void a_dying_handle_that_is_removed_is_dying_no_more(void **state)
{
    ensi_handle_t a, b;
    (void)state;
    open_table(2);
    add(&a);
    add(&b);
    table.dying = &a;
    ensi_handle_remove(&table, &b);
    assert_ptr_equal(table.dying, &a);
    ensi_handle_remove(&table, &a);
    assert_null(table.dying);
    close_table();
}

static void a_notice_is_empty_and_addressed(void **state)
{
    ensi_handle_t h;
    ensign_notice_t *n;
    int user;
    (void)state;
    open_table(1);
    memset(&h, 0, sizeof h);
    ensi_handle_add(&table, &h, &any_kind, &user);
    memset(&h.notice, 0xEE, sizeof h.notice);
    h.bits = ENSI_BIT_ROOM | ENSI_BIT_END;
    assert_null(ensi_notice_bit(&h, ENSI_BIT_OPEN, ENSIGN_NOTICE_OPEN));
    assert_int_equal(h.bits, ENSI_BIT_ROOM | ENSI_BIT_END);
    n = ensi_notice_bit(&h, ENSI_BIT_ROOM, ENSIGN_NOTICE_ROOM);
    assert_int_equal(h.bits, ENSI_BIT_END);
    assert_int_equal(n->type, ENSIGN_NOTICE_ROOM);
    assert_int_equal(n->handle, h.id);
    assert_ptr_equal(n->user, &user);
    assert_null(n->error);
    assert_false(n->last);
    ensi_handle_remove(&table, &h);
    close_table();
}

/* ---- the live list, and how many are busy */

static void those_that_live_stand_in_the_order_of_opening(void **state)
{
    ensi_handle_t h[4];
    (void)state;
    open_table(4);
    assert_null(table.oldest);
    assert_null(table.newest);
    for (size_t i = 0; i < 4; i++) add(&h[i]);
    ensi_handle_remove(&table, &h[1]); /* from the midst, */
    assert_ptr_equal(h[0].newer, &h[2]);
    assert_ptr_equal(h[2].older, &h[0]);
    ensi_handle_remove(&table, &h[0]); /* the oldest, */
    assert_ptr_equal(table.oldest, &h[2]);
    assert_null(h[2].older);
    ensi_handle_remove(&table, &h[3]); /* the newest */
    assert_ptr_equal(table.newest, &h[2]);
    assert_null(h[2].newer);
    add(&h[0]); /* into an old slot, and behind all others */
    assert_ptr_equal(h[2].newer, &h[0]);
    assert_ptr_equal(table.newest, &h[0]);
    ensi_handle_remove(&table, &h[2]);
    ensi_handle_remove(&table, &h[0]);
    assert_null(table.oldest);
    assert_null(table.newest);
    close_table();
}

static void a_handle_is_busy_until_it_is_done_or_removed(void **state)
{
    ensi_handle_t a, b;
    (void)state;
    open_table(2);
    add(&a);
    add(&b);
    assert_int_equal(table.busy, 2);
    ensi_handle_done(&table, &a);
    ensi_handle_done(&table, &a); /* counts once */
    assert_true(a.done);
    assert_int_equal(table.busy, 1);
    assert_int_equal(table.alive, 2); /* its last notice waits */
    ensi_handle_remove(&table, &a);
    assert_int_equal(table.busy, 1);
    ensi_handle_remove(&table, &b);
    assert_int_equal(table.busy, 0);
    close_table();
}

/* ---- timers, against a list that is sorted anew each time */

enum { TIMERS = 500 };

static int by_time(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The times of those that run, sorted. */
static size_t sorted(const ensi_handle_t *h, uint64_t times[TIMERS])
{
    size_t n = 0;
    for (size_t i = 0; i < TIMERS; i++)
        if (h[i].due_ms != UINT64_MAX) times[n++] = h[i].due_ms;
    qsort(times, n, sizeof times[0], by_time);
    return n;
}

/* What comes due at now_ms is the head of the sorted list, and nothing else changes. */
static void come_due(const ensi_handle_t *h, uint64_t now_ms)
{
    static uint64_t before[TIMERS], after[TIMERS], was[TIMERS];
    size_t n = sorted(h, before), left, given = 0;
    for (size_t i = 0; i < TIMERS; i++) was[i] = h[i].due_ms;
    for (const ensi_handle_t *at = ensi_handles_due(&table, now_ms); at; at = at->due_next, given++) {
        assert_true(given < n);
        assert_true(was[at - h] == before[given]);
        assert_true(before[given] <= now_ms);
        assert_true(at->due_ms == UINT64_MAX);
        was[at - h] = UINT64_MAX; /* once */
    }
    left = sorted(h, after);
    assert_int_equal(given + left, n);
    assert_memory_equal(after, before + given, left * sizeof after[0]);
    if (left) assert_true(after[0] > now_ms);
}

static void timers_come_due_as_a_sorted_list_says(void **state)
{
    static ensi_handle_t h[TIMERS];
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        uint64_t rng = seed, now_ms = 0, times[TIMERS], span = seed % 2 ? 100000 : 50;
        printf("handle: timers, seed %lu\n", (unsigned long)seed);
        open_table(TIMERS);
        for (size_t i = 0; i < TIMERS; i++) add(&h[i]);
        for (unsigned step = 0; step < 4000; step++) {
            ensi_handle_t *one = &h[ensi_rng_next(&rng) % TIMERS];
            uint64_t what = ensi_rng_next(&rng) % 20;
            size_t n;
            if (what == 0) {
                ensi_handle_schedule(&table, one, UINT64_MAX);
            } else if (what == 1) { /* one that dies takes its timer along */
                ensi_handle_remove(&table, one);
                add(one);
            } else if (what == 2) {
                now_ms += ensi_rng_next(&rng) % (span / 10);
                come_due(h, now_ms);
            } else {
                ensi_handle_schedule(&table, one, now_ms + ensi_rng_next(&rng) % span);
            }
            n = sorted(h, times);
            assert_int_equal(table.timed_count, n);
            if (n) assert_true(table.timed[0]->due_ms == times[0]);
        }
        come_due(h, UINT64_MAX - 1);
        assert_int_equal(table.timed_count, 0);
        for (size_t i = 0; i < TIMERS; i++) ensi_handle_remove(&table, &h[i]);
        close_table();
    }
}

/* ---- anything in any order, against arrays */

enum { MODEL = 12 };

typedef struct {
    ensi_handle_t handles[MODEL];
    bool alive[MODEL], done[MODEL];
    uint64_t due[MODEL];
    ensi_handle_t *living[MODEL];   /* oldest first */
    uint32_t living_count;
    uint32_t stale[64], stale_count;
    ensi_handle_t *ready[MODEL];    /* in order */
    size_t ready_count;
    uint32_t freed[MODEL], freed_count; /* slots, longest free first */
} model_t;

static void model_unready(model_t *m, const ensi_handle_t *h)
{
    size_t at = 0;
    while (at < m->ready_count && m->ready[at] != h) at++;
    if (at == m->ready_count) return;
    m->ready_count--;
    for (; at < m->ready_count; at++) m->ready[at] = m->ready[at + 1];
}

/* Those that live, from either end. */
static void model_lives(const model_t *m)
{
    const ensi_handle_t *h = table.oldest, *older = NULL;
    for (uint32_t i = 0; i < m->living_count; i++, older = h, h = h->newer) {
        assert_ptr_equal(h, m->living[i]);
        assert_ptr_equal(h->older, older);
    }
    assert_null(h);
    assert_ptr_equal(table.newest, older);
}

/* The heap has each one whose timer runs, once, and none goes before its parent. */
static void model_times(const model_t *m)
{
    uint32_t timed = 0, busy = 0;
    for (size_t i = 0; i < MODEL; i++) {
        const ensi_handle_t *h = &m->handles[i];
        if (!m->alive[i]) continue;
        assert_true(h->due_ms == m->due[i]);
        assert_int_equal(h->done, m->done[i]);
        assert_true(ensi_handle_holds(&table, h));
        busy += !m->done[i];
        timed += m->due[i] != UINT64_MAX;
        if (m->due[i] == UINT64_MAX) continue;
        assert_true(h->timed_at < table.timed_count);
        assert_ptr_equal(table.timed[h->timed_at], h);
        if (h->timed_at) assert_true(table.timed[(h->timed_at - 1) / 2]->due_ms <= h->due_ms);
    }
    assert_int_equal(table.timed_count, timed);
    assert_int_equal(table.busy, busy);
}

static void model_agrees(const model_t *m)
{
    const ensi_handle_t *h = table.ready_head, *before = NULL;
    uint32_t alive = 0;
    model_lives(m);
    model_times(m);
    for (size_t i = 0; i < m->ready_count; i++, before = h, h = h->after) {
        assert_ptr_equal(h, m->ready[i]);
        assert_ptr_equal(h->before, before);
        assert_true(h->ready);
    }
    assert_null(h);
    assert_ptr_equal(table.ready_tail, before);
    for (size_t i = 0; i < MODEL; i++) {
        if (!m->alive[i]) continue;
        alive++;
        assert_ptr_equal(ensi_handle_find(&table, m->handles[i].id), &m->handles[i]);
    }
    assert_int_equal(table.alive, alive);
    assert_int_equal(ensi_handle_room(&table), alive < MODEL);
    for (uint32_t i = 0; i < m->stale_count; i++) assert_null(ensi_handle_find(&table, m->stale[i]));
}

static void model_bury(model_t *m, const ensi_handle_t *h)
{
    uint32_t at = 0;
    while (m->living[at] != h) at++;
    m->living_count--;
    for (; at < m->living_count; at++) m->living[at] = m->living[at + 1];
}

/* Any time, an equal one often; UINT64_MAX: none. */
static uint64_t any_time(uint64_t *rng)
{
    uint64_t kind = ensi_rng_next(rng) % 8;
    if (kind == 0) return UINT64_MAX;
    return kind == 1 ? UINT64_MAX - 1 : ensi_rng_next(rng) % 20;
}

/* Those whose time has come are given by their times, each once, and run no more. */
static void model_due(model_t *m, uint64_t now_ms)
{
    size_t due = 0, given = 0;
    uint64_t last = 0;
    for (size_t i = 0; i < MODEL; i++) due += m->alive[i] && m->due[i] <= now_ms;
    for (const ensi_handle_t *h = ensi_handles_due(&table, now_ms); h; h = h->due_next, given++) {
        size_t i = (size_t)(h - m->handles);
        assert_true(given < due);
        assert_true(m->alive[i] && m->due[i] <= now_ms && m->due[i] >= last);
        last = m->due[i];
        m->due[i] = UINT64_MAX;
    }
    assert_int_equal(given, due);
}

static void model_open_or_end(model_t *m, size_t i)
{
    ensi_handle_t *h = &m->handles[i];
    if (!m->alive[i]) {
        add(h);
        m->alive[i] = true;
        m->done[i] = false;
        m->due[i] = UINT64_MAX;
        m->living[m->living_count++] = h;
        assert_int_equal(slot_of(h->id), m->freed[0]);
        m->freed_count--;
        for (uint32_t k = 0; k < m->freed_count; k++) m->freed[k] = m->freed[k + 1];
        return;
    }
    m->alive[i] = false;
    model_unready(m, h);
    model_bury(m, h);
    m->freed[m->freed_count++] = slot_of(h->id);
    if (m->stale_count == ENSI_COUNT(m->stale)) m->stale_count = 0;
    m->stale[m->stale_count++] = h->id;
    ensi_handle_remove(&table, h);
}

static void model_step(model_t *m, uint64_t *rng)
{
    size_t i = (size_t)(ensi_rng_next(rng) % MODEL);
    ensi_handle_t *h = &m->handles[i];
    unsigned what = (unsigned)(ensi_rng_next(rng) % 13);
    if (what == 0 || !m->alive[i]) {
        model_open_or_end(m, i);
    } else if (what < 4) {
        if (!h->ready && !h->held) m->ready[m->ready_count++] = h;
        ensi_ready_append(&table, h);
    } else if (what == 4) {
        model_unready(m, h);
        ensi_ready_remove(&table, h);
    } else if (what == 5) { /* a pull: the first goes to the end */
        ensi_handle_t *first = table.ready_head;
        if (!first) return;
        model_unready(m, first);
        ensi_ready_remove(&table, first);
        ensi_ready_append(&table, first);
        if (!first->held) m->ready[m->ready_count++] = first;
    } else if (what < 10) {
        m->due[i] = any_time(rng);
        ensi_handle_schedule(&table, h, m->due[i]);
    } else if (what == 10) {
        model_due(m, ensi_rng_next(rng) % 22);
    } else if (what == 11) {
        m->done[i] = true;
        ensi_handle_done(&table, h);
    } else { /* hold: out of the list, until it is let go */
        h->held = !h->held;
        model_unready(m, h);
        ensi_ready_remove(&table, h);
    }
}

static void anything_in_any_order_agrees_with_a_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        model_t m;
        uint64_t rng = seed;
        printf("handle: seed %lu\n", (unsigned long)seed);
        memset(&m, 0, sizeof m);
        open_table(MODEL);
        for (uint32_t i = 0; i < MODEL; i++) m.freed[m.freed_count++] = i;
        for (unsigned step = 0; step < 5000; step++) {
            model_step(&m, &rng);
            model_agrees(&m);
        }
        close_table();
    }
}

static void a_table_without_memory_says_so(void **state)
{
    (void)state;
    for (size_t limit = 1; limit < 4000; limit += 100) {
        bool good;
        memset(&mem, 0, sizeof mem);
        mem.alloc = ensi_mem_default;
        mem.limit = limit;
        good = ensi_handles_open(&table, &mem, 100);
        assert_int_equal(good, limit >= ensi_handles_size(100) + 4 * ENSI_MEM_HEADER);
        close_table(); /* whatever there is of it */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_number_that_was_never_given_is_found),
        cmocka_unit_test(a_stale_number_is_never_found),
        cmocka_unit_test(the_client_s_number_is_never_given),
        cmocka_unit_test(slots_come_back_in_the_order_in_which_they_became_free),
        cmocka_unit_test(the_ready_list_serves_in_order_and_each_once),
        cmocka_unit_test(a_dying_handle_that_is_removed_is_dying_no_more),
        cmocka_unit_test(a_notice_is_empty_and_addressed),
        cmocka_unit_test(those_that_live_stand_in_the_order_of_opening),
        cmocka_unit_test(a_handle_is_busy_until_it_is_done_or_removed),
        cmocka_unit_test(timers_come_due_as_a_sorted_list_says),
        cmocka_unit_test(anything_in_any_order_agrees_with_a_model),
        cmocka_unit_test(a_table_without_memory_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
