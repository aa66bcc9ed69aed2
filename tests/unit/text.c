/* text.c - section util: texts, whose formats do what the C library's do */
#include "plain.h"

/* Both write the same bytes, and return the same length, whatever room there is. */
#define SAME(...)                                                                                            \
    do {                                                                                                     \
        for (size_t cap_ = 0; cap_ <= 40; cap_++) {                                                          \
            char ours_[41], theirs_[41];                                                                     \
            memset(ours_, '#', sizeof ours_);                                                                \
            memset(theirs_, '#', sizeof theirs_);                                                            \
            assert_int_equal(ensi_fmt(ours_, cap_, __VA_ARGS__), snprintf(theirs_, cap_, __VA_ARGS__));      \
            assert_memory_equal(ours_, theirs_, sizeof ours_);                                               \
        }                                                                                                    \
    } while (0)

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wformat-truncation" /* it is what is tested */
#endif

static void plain_text_and_percent_signs(void **state)
{
    (void)state;
    SAME("%s", "");
    SAME("no conversion at all");
    SAME("100 %%");
    SAME("%%%s%%", "between");
    SAME("%c%c%c", 'a', '%', 'z');
}

static void strings_are_cut_at_the_precision(void **state)
{
    const char *volatile none = NULL; /* volatile: the compiler would warn of a NULL that it can see */
    char out[16];
    const char open[3] = { 'n', 'o', ' ' }; /* without a NUL: no more than the precision is read */
    (void)state;
    SAME("<%s>", "a longer word than there is room for, by far");
    SAME("<%.3s>", "abcdef");
    SAME("<%.120s>", "abc");
    SAME("<%.0s>", "abc");
    SAME("<%.*s>", 2, "abcdef");
    SAME("<%.*s>", 0, "abcdef");
    SAME("<%.*s> <%.3s>", 3, open, open);
    assert_int_equal(ensi_fmt(out, sizeof out, "<%s>", none), 8); /* of the caller, and survived */
    assert_string_equal(out, "<(null)>");
}

static void numbers_in_every_base(void **state)
{
    static const long values[] = { 0, 1, -1, 9, 10, 99, -99, 255, 65535, 1234567890, INT32_MAX, INT32_MIN };
    (void)state;
    for (size_t i = 0; i < COUNT(values); i++) {
        int n = (int)values[i];
        SAME("%d %u", n, (unsigned)n);
        SAME("%x %X", (unsigned)n, (unsigned)n);
        SAME("%ld %lu", values[i], (unsigned long)values[i]);
        SAME("%lx %lX", (unsigned long)values[i], (unsigned long)values[i]);
    }
    SAME("%ld %ld", LONG_MAX, LONG_MIN);
    SAME("%lu %lx", ULONG_MAX, ULONG_MAX);
}

static void numbers_are_filled_with_zeros(void **state)
{
    static const int values[] = { 0, 7, 12, 12345, -1, -12, -12345, INT32_MAX, INT32_MIN };
    (void)state;
    for (size_t i = 0; i < COUNT(values); i++) {
        SAME("%02d %04d %06d", values[i], values[i], values[i]);
        SAME("%02x %04X", (unsigned)values[i], (unsigned)values[i]);
        SAME("%020d", values[i]);
    }
}

static void a_text_in_pieces_counts_what_finds_no_room(void **state)
{
    char out[9];
    ensi_text_t t;
    (void)state;
    memset(out, '#', sizeof out);
    ensi_text_begin(&t, out, 8);
    ensi_text_puts(&t, "abc");
    ensi_text_format(&t, "-%d-", 12);
    ensi_text_put(&t, "xyz", 3);
    assert_int_equal(ensi_text_end(&t, 8), 10);
    assert_memory_equal(out, "abc-12-\0#", 9);
    ensi_text_begin(&t, NULL, 0);
    ensi_text_puts(&t, "abc");
    assert_int_equal(ensi_text_end(&t, 0), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text_and_percent_signs),
        cmocka_unit_test(strings_are_cut_at_the_precision),
        cmocka_unit_test(numbers_in_every_base),
        cmocka_unit_test(numbers_are_filled_with_zeros),
        cmocka_unit_test(a_text_in_pieces_counts_what_finds_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
