/* catchup.c - the bisection that finds a place, and the names that EnSQL can read */
#include "bare.h"

/* How many questions a topic of `rows` rows takes, of which the first `place` are at or before the place. */
static unsigned find(uint64_t rows, uint64_t place, uint64_t guess)
{
    ensi_bisect_t b;
    uint64_t at;
    ensi_bisect_begin(&b, guess);
    while (ensi_bisect_next(&b, &at)) {
        assert_true(b.asked < ENSI_CATCHUP_ASKED);
        assert_true(at >= b.low && at < b.high);
        ensi_bisect_answer(&b, at, at < rows && at < place);
    }
    assert_int_equal(b.low, place);
    return b.asked;
}

static void each_place_is_found_from_each_guess(void **state)
{
    static const uint64_t sizes[] = { 0, 1, 2, 3, 17, 300 };
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (uint64_t place = 0; place <= sizes[i]; place++)
            for (uint64_t guess = 0; guess <= sizes[i] + 2; guess++) find(sizes[i], place, guess);
}

static void a_long_topic_takes_few_questions(void **state)
{
    static const uint64_t places[] = { 0, 1, 2, 4095, 50000, 99998, 99999, 100000 };
    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        assert_true(find(100000, places[i], 0) <= 28);
        assert_true(find(100000, places[i], 100000) <= 28);
    }
    for (uint64_t rows = 1; rows < (uint64_t)1 << 48; rows = rows * 3 + 1) {
        assert_true(find(rows, rows, 0) <= ENSI_CATCHUP_ASKED);
        assert_true(find(rows, 0, rows) <= ENSI_CATCHUP_ASKED);
    }
}

static void a_good_guess_takes_two_questions(void **state)
{
    (void)state;
    for (uint64_t place = 1; place <= 1000; place++) assert_true(find(1000, place, place) <= 2);
    assert_int_equal(find(1000, 0, 0), 1);
    assert_true(find(100000, 50000, 50010) < 12);
}

/* Not every answer fits a topic: it may change between two questions. The bisection ends all the same. */
static void it_ends_whatever_is_answered(void **state)
{
    (void)state;
    for (unsigned run = 0; run < 20000; run++) {
        ensi_bisect_t b;
        uint64_t at;
        ensi_bisect_begin(&b, run % 3 ? below(100000) : 0);
        while (b.asked < 500 && ensi_bisect_next(&b, &at)) {
            assert_true(b.low <= b.high);
            ensi_bisect_answer(&b, at, below(2) != 0);
        }
        assert_true(b.asked <= 128);
    }
}

static void names_that_ensql_can_read(void **state)
{
    static const char *const good[] = { "weather", "a", "dashed-topic", "with_2", "sel", "Trues", "tt",
                                        "no", "of" };
    static const char *const bad[] = { "orders", "OR",     "assets", "aside",   "as",        "android", "likes",
                                       "ilike",  "from_x", "limits", "offset1", "selection", "Where",   "a.b",
                                       "a b",    "t",      "T",      "true",    "True",      "TRUE",    "f",
                                       "F",      "false",  "False",  "FALSE",   "9lives",    "-a",      "",
                                       "na\xc3\xafve" };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (ensi_catchup_unreadable(ensign_str(good[i])))
            fail_msg("%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (!ensi_catchup_unreadable(ensign_str(bad[i]))) fail_msg("%s", bad[i]);
}

static void only_legal_moves_are_made(void **state)
{
    static const int to[ENSI_CATCHUP_STATES][ENSI_CATCHUP_INPUTS] = {
        /*             map                done               ready              lost */
        /* OFF   */ { ENSI_CATCHUP_ENDS, -1,                -1,                ENSI_CATCHUP_READS },
        /* ENDS  */ { -1,                ENSI_CATCHUP_OPEN, -1,                -1 },
        /* READS */ { -1,                ENSI_CATCHUP_OPEN, -1,                -1 },
        /* OPEN  */ { -1,                -1,                ENSI_CATCHUP_SEAM, ENSI_CATCHUP_READS },
        /* SEAM  */ { -1,                ENSI_CATCHUP_OFF,  -1,                ENSI_CATCHUP_READS },
    };
    (void)state;
    for (int from = 0; from < ENSI_CATCHUP_STATES; from++)
        for (int in = 0; in < ENSI_CATCHUP_INPUTS; in++) {
            ensi_catchup_t x;
            memset(&x, 0, sizeof x);
            x.state = (ensi_catchup_state_t)from;
            assert_int_equal(ensi_catchup_move(&x, (ensi_catchup_in_t)in), to[from][in] >= 0);
            assert_int_equal(x.state, to[from][in] >= 0 ? to[from][in] : from);
        }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_place_is_found_from_each_guess),
        cmocka_unit_test(a_long_topic_takes_few_questions),
        cmocka_unit_test(a_good_guess_takes_two_questions),
        cmocka_unit_test(it_ends_whatever_is_answered),
        cmocka_unit_test(names_that_ensql_can_read),
        cmocka_unit_test(only_legal_moves_are_made),
    };
    return cmocka_run_group_tests_name("catchup", tests, NULL, NULL);
}
