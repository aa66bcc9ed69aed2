/* late_log.h - what the tests of ensignd's places and groups share: a log over the engine that is late, out
 * of order and failing by a seed, in time that the test passes */
#ifndef LATE_LOG_H
#define LATE_LOG_H
#include "clock.h"
#include "../../tools/ensignd/log.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static log_t *events;                   /* the log of the test */
static const ulid_t project = { "the test project" };

/* ---- chance, by the seed */

static uint64_t dice;

static unsigned below(unsigned n)
{
    uint64_t z = dice += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (unsigned)((z ^ z >> 31) >> 32) % n;
}

static bool one_of(unsigned n)
{
    return below(n) == 0;
}

/* Long runs take fewer seeds where FEWER says so: under valgrind. */
static unsigned seeds(unsigned n)
{
    const char *fewer = getenv("FEWER");
    unsigned d = fewer ? (unsigned)strtoul(fewer, NULL, 10) : 1;
    return d > 1 && n / d > 0 ? n / d : d > 1 ? 1 : n;
}

static unsigned running;                /* the seed that is under way; 0: none */

#define run_seeded(tests) failing_seed(cmocka_run_group_tests(tests, NULL, NULL))
static int failing_seed(int failed)
{
    if (running) fprintf(stderr, "the seed that fails is %u\n", running);
    return failed;
}

static void open_log(unsigned seed)
{
    char where[16];
    why_t why;

    snprintf(where, sizeof where, "%u", seed);
    clock_ms = 1000;
    dice = seed;
    events = log_open(&log_late, where, LOG_WRITE, 30000, &why);
    assert_non_null(events);
}

static void log_turn(void)
{
    clock_ms += 1 + below(20);
    log_run(events);
}

static void set_true(log_request_t *r)
{
    *(bool *)r->user = true;
}

/* Returns its offset, behind its commit. */
static uint64_t publish_bytes(const ulid_t *topic, const uint8_t *value, size_t size)
{
    log_append_t a;
    log_new_t e;
    bool done = false;

    memset(&a, 0, sizeof a);
    memset(&e, 0, sizeof e);
    e.topic = *topic;
    e.value = slice_of(value, size);
    a.base.done = set_true;
    a.base.user = &done;
    a.project = project;
    a.events = &e;
    a.count = 1;
    log_append(events, &a);
    while (!done) log_turn();
    assert_int_equal(a.base.result, LOG_OK);
    return e.offset;
}

/* A value of so many bytes that begins with the text. */
static uint64_t publish(const ulid_t *topic, const char *text, size_t size)
{
    uint8_t *value = x_alloc(size + 1);
    uint64_t offset;

    snprintf((char *)value, size + 1, "%s", text);
    offset = publish_bytes(topic, value, size);
    free(value);
    return offset;
}
#endif
