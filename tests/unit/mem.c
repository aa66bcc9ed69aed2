/* mem.c - section mem: counted, limited, small blocks kept; and the timers of util */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <stdio.h>
#include <cmocka.h>
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"

/* The hook keeps its own books. */
static struct { size_t bytes, blocks; uint64_t calls, fail_at; } heap;

static void *heap_alloc(void *user, void *old, size_t size)
{
    size_t *p = old ? (size_t *)old - 2 : NULL;
    assert_ptr_equal(user, &heap);
    heap.calls++;
    if (size == 0) {
        assert_non_null(p);
        heap.bytes -= *p;
        heap.blocks--;
        free(p);
        return NULL;
    }
    if (heap.calls == heap.fail_at) return NULL;
    heap.bytes -= p ? *p : 0;
    heap.blocks += p ? 0 : 1;
    p = (size_t *)realloc(p, size + 2 * sizeof *p);
    if (!p) abort();
    *p = size;
    heap.bytes += size;
    return p + 2;
}

static ensi_mem_t mem_open(size_t limit)
{
    ensi_mem_t m;
    memset(&heap, 0, sizeof heap);
    memset(&m, 0, sizeof m);
    m.user = &heap;
    m.alloc = heap_alloc;
    m.limit = limit;
    return m;
}

static void mem_agrees(const ensi_mem_t *m)
{
    assert_int_equal(m->used, heap.bytes);
    assert_int_equal(m->calls, heap.calls);
    assert_true(m->limit == 0 || m->used <= m->limit);
}

static void mem_end(ensi_mem_t *m)
{
    ensi_mem_close(m);
    mem_agrees(m);
    assert_null(m->small);
    assert_int_equal(m->small_count, 0);
    assert_int_equal(heap.blocks, 0);
    assert_int_equal(m->used, 0);
}

static void each_byte_and_each_call_is_counted(void **state)
{
    ensi_mem_t m = mem_open(0);
    uint8_t *p[40] = { NULL };
    size_t size[40] = { 0 };
    uint64_t rng = 11;
    (void)state;
    for (unsigned step = 0; step < 20000; step++) {
        size_t i = (size_t)(ensi_rng_next(&rng) % ENSI_COUNT(p)), n = (size_t)(ensi_rng_next(&rng) % 1000);
        for (size_t k = 0; k < size[i]; k++) assert_int_equal(p[i][k], (uint8_t)(i + k));
        if (p[i] && n % 3 == 0) {
            ensi_mem_free(&m, p[i]);
            p[i] = NULL;
            size[i] = 0;
        } else {
            size_t kept = size[i] < n ? size[i] : n;
            p[i] = (uint8_t *)(p[i] ? ensi_mem_resize(&m, p[i], n) : ensi_mem_take(&m, n));
            assert_non_null(p[i]);
            assert_true(ensi_mem_size(p[i]) >= n);
            for (size_t k = 0; k < kept; k++) assert_int_equal(p[i][k], (uint8_t)(i + k));
            for (size_t k = 0; k < n; k++) p[i][k] = (uint8_t)(i + k);
            size[i] = n;
        }
        mem_agrees(&m);
    }
    for (size_t i = 0; i < ENSI_COUNT(p); i++) ensi_mem_free(&m, p[i]);
    mem_end(&m);
}

static void the_limit_is_kept_to_the_byte(void **state)
{
    ensi_mem_t m = mem_open(1000 + 2 * ENSI_MEM_HEADER);
    uint8_t *a = (uint8_t *)ensi_mem_take(&m, 600), *b;
    (void)state;
    assert_non_null(a);
    assert_null(ensi_mem_take(&m, 401));
    assert_int_equal(heap.calls, 1); /* refused without a call */
    b = (uint8_t *)ensi_mem_take(&m, 400);
    assert_non_null(b);
    assert_null(ensi_mem_resize(&m, b, 401));
    assert_int_equal(ensi_mem_size(b), 400); /* stands */
    b = (uint8_t *)ensi_mem_resize(&m, b, 300);
    assert_non_null(b);
    b = (uint8_t *)ensi_mem_resize(&m, b, 400);
    assert_non_null(b);
    mem_agrees(&m);
    ensi_mem_free(&m, a);
    ensi_mem_free(&m, b);
    mem_end(&m);
}

/* No size is so large that the sum wraps past the limit. */
static void a_size_beyond_all_memory_is_refused(void **state)
{
    static const size_t limits[] = { 0, 1000 };
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(limits); i++) {
        ensi_mem_t m = mem_open(limits[i]);
        void *a = ensi_mem_take(&m, 500);
        assert_non_null(a);
        for (size_t n = 0; n < ENSI_MEM_HEADER; n++) {
            assert_null(ensi_mem_take(&m, SIZE_MAX - n));
            assert_null(ensi_mem_resize(&m, a, SIZE_MAX - n));
        }
        if (m.limit) assert_null(ensi_mem_take(&m, SIZE_MAX - 300));
        assert_int_equal(heap.calls, 1);
        assert_int_equal(ensi_mem_size(a), 500);
        ensi_mem_free(&m, a);
        mem_end(&m);
    }
}

static void a_failing_hook_changes_nothing(void **state)
{
    ensi_mem_t m = mem_open(0);
    uint8_t *a = (uint8_t *)ensi_mem_take(&m, 500);
    size_t used = m.used;
    (void)state;
    memset(a, 7, 500);
    heap.fail_at = 2;
    assert_null(ensi_mem_take(&m, 300));
    heap.fail_at = 3;
    assert_null(ensi_mem_resize(&m, a, 5000));
    heap.fail_at = 4;
    assert_null(ensi_mem_zero(&m, 10));
    heap.fail_at = 5;
    assert_null(ensi_mem_text(&m, "text"));
    assert_int_equal(m.used, used);
    assert_int_equal(ensi_mem_size(a), 500);
    for (size_t i = 0; i < 500; i++) assert_int_equal(a[i], 7);
    ensi_mem_free(&m, a);
    mem_end(&m);
}

static void small_blocks_are_kept_and_used_again(void **state)
{
    ensi_mem_t m = mem_open(0);
    void *p[ENSI_MEM_KEEP + 10], *large;
    uint64_t calls;
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(p); i++) {
        p[i] = ensi_mem_take(&m, 1 + i % ENSI_MEM_SMALL);
        assert_non_null(p[i]);
    }
    assert_int_equal(m.calls, ENSI_COUNT(p));
    for (size_t i = 0; i < ENSI_COUNT(p); i++) ensi_mem_free(&m, p[i]);
    assert_int_equal(m.small_count, ENSI_MEM_KEEP);
    assert_int_equal(m.calls, ENSI_COUNT(p) + 10); /* those past the bound went back */
    calls = m.calls;
    for (unsigned round = 0; round < 20; round++) {
        for (size_t i = 0; i < ENSI_MEM_KEEP; i++) p[i] = ensi_mem_take(&m, ENSI_MEM_SMALL);
        for (size_t i = 0; i < ENSI_MEM_KEEP; i++)
            for (size_t k = 0; k < i; k++) assert_ptr_not_equal(p[i], p[k]);
        for (size_t i = 0; i < ENSI_MEM_KEEP; i++) ensi_mem_free(&m, p[i]);
    }
    assert_int_equal(m.calls, calls);
    large = ensi_mem_take(&m, ENSI_MEM_SMALL + 1); /* larger ones come from the hook, and go back to it */
    ensi_mem_free(&m, large);
    assert_int_equal(m.calls, calls + 2);
    mem_end(&m);
}

/* nghttp2 resizes what it took: a block that is small no longer, or smaller, is not kept as one. */
static void a_resized_block_is_kept_only_at_the_usual_size(void **state)
{
    static const size_t sizes[] = { 0, 1, ENSI_MEM_SMALL - 1, ENSI_MEM_SMALL, ENSI_MEM_SMALL + 1, 4096 };
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(sizes); i++) {
        ensi_mem_t m = mem_open(0);
        void *p = ensi_mem_resize(&m, ensi_mem_take(&m, 10), sizes[i]);
        assert_non_null(p);
        ensi_mem_free(&m, p);
        assert_int_equal(m.small_count, sizes[i] == ENSI_MEM_SMALL);
        mem_agrees(&m);
        mem_end(&m);
    }
}

static void zeroed_memory_is_zero_when_it_was_used_before(void **state)
{
    ensi_mem_t m = mem_open(0);
    uint8_t *p = (uint8_t *)ensi_mem_take(&m, 100);
    (void)state;
    memset(p, 0xEE, 100);
    ensi_mem_free(&m, p);
    p = (uint8_t *)ensi_mem_zero(&m, 100);
    for (size_t i = 0; i < 100; i++) assert_int_equal(p[i], 0);
    ensi_mem_free(&m, p);
    ensi_mem_free(&m, NULL);
    mem_end(&m);
}

static void priming_fills_the_list_and_a_failure_does_no_harm(void **state)
{
    ensi_mem_t m = mem_open(0);
    uint64_t calls;
    (void)state;
    heap.fail_at = 6;
    ensi_mem_prime(&m, ENSI_MEM_PRIME);
    assert_int_equal(m.small_count, 5);
    mem_agrees(&m);
    ensi_mem_prime(&m, ENSI_MEM_PRIME);
    assert_int_equal(m.small_count, ENSI_MEM_PRIME);
    calls = m.calls;
    ensi_mem_prime(&m, ENSI_MEM_PRIME);
    assert_int_equal(m.calls, calls);
    mem_end(&m);

    m = mem_open(3 * (ENSI_MEM_SMALL + ENSI_MEM_HEADER) + 5);
    ensi_mem_prime(&m, ENSI_MEM_PRIME);
    assert_int_equal(m.small_count, 3);
    mem_end(&m);
}

static void texts_are_copied(void **state)
{
    ensi_mem_t m = mem_open(0);
    char text[] = "abc", *a = ensi_mem_text(&m, text), *b = ensi_mem_text(&m, NULL);
    (void)state;
    text[0] = 'x';
    assert_string_equal(a, "abc");
    assert_string_equal(b, "");
    ensi_mem_free(&m, a);
    ensi_mem_free(&m, b);
    mem_end(&m);
}

/* ---- util: a duration starts at the first tick that sees it */

static void a_timer_counts_from_the_first_tick_that_sees_it(void **state)
{
    ensi_timer_t t;
    (void)state;
    memset(&t, 0, sizeof t);
    assert_int_equal(ensi_timer_left(&t, 5), ENSIGN_FOREVER);
    assert_false(ensi_timer_due(&t, 5));
    ensi_timer_start(&t, 100);
    assert_int_equal(ensi_timer_left(&t, 77777), 100);
    assert_false(ensi_timer_due(&t, 1000));
    assert_int_equal(ensi_timer_left(&t, 1040), 60);
    assert_false(ensi_timer_due(&t, 1099));
    assert_int_equal(ensi_timer_left(&t, 2000), 0);
    assert_true(ensi_timer_due(&t, 1100));
    assert_false(ensi_timer_due(&t, 1100)); /* once */
    assert_int_equal(ensi_timer_left(&t, 1100), ENSIGN_FOREVER);
    ensi_timer_start(&t, 0);
    assert_true(ensi_timer_due(&t, 1100));
    ensi_timer_start(&t, ENSIGN_FOREVER);
    assert_false(ensi_timer_due(&t, UINT64_MAX));
    ensi_timer_start(&t, 10);
    ensi_timer_stop(&t);
    assert_false(ensi_timer_due(&t, UINT64_MAX));
}

static void an_error_text_may_show_the_old_one(void **state)
{
    ensign_error_t e;
    char longer[501];
    (void)state;
    memset(longer, 'x', 500);
    longer[500] = '\0';
    memset(&e, 0, sizeof e);
    assert_int_equal(ensi_fail(&e, ENSIGN_E_TLS, 7, "tls: %d", 12), ENSIGN_E_TLS);
    assert_int_equal(ensi_fail(&e, ENSIGN_E_FILE, 3, "file: %s", e.text), ENSIGN_E_FILE);
    assert_string_equal(e.text, "file: tls: 12");
    assert_int_equal(e.code, ENSIGN_E_FILE);
    assert_int_equal(e.native, 3);
    assert_int_equal(ensi_fail(NULL, ENSIGN_E_TLS, 0, "x"), ENSIGN_E_TLS);
    ensi_fail(&e, ENSIGN_E_TLS, 0, "%s", longer); /* cut, and ended */
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_byte_and_each_call_is_counted),
        cmocka_unit_test(the_limit_is_kept_to_the_byte),
        cmocka_unit_test(a_size_beyond_all_memory_is_refused),
        cmocka_unit_test(a_failing_hook_changes_nothing),
        cmocka_unit_test(small_blocks_are_kept_and_used_again),
        cmocka_unit_test(a_resized_block_is_kept_only_at_the_usual_size),
        cmocka_unit_test(zeroed_memory_is_zero_when_it_was_used_before),
        cmocka_unit_test(priming_fills_the_list_and_a_failure_does_no_harm),
        cmocka_unit_test(texts_are_copied),
        cmocka_unit_test(a_timer_counts_from_the_first_tick_that_sees_it),
        cmocka_unit_test(an_error_text_may_show_the_old_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
