/* logs.h - for tests of log.h: the engines, a clock that moves when the log waits for it, and calls that
 * return with the answer */
#ifndef LOGS_H
#define LOGS_H
#define _POSIX_C_SOURCE 200809L
#include "clock.h"
#include "../../tools/ensignd/log_engine.h"
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define UNUSED __attribute__((unused))
#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define TIMEOUT_MS 30000

static log_t *logs;             /* that the test runs on */
static why_t why;

/* Long after the last answer that comes at all. */
enum { TURNS_ALL = 100000 };
enum { TURN_MS = 10 };          /* of one turn, where the log waits for another process */

static void wait_for_log(void)
{
    int64_t due = log_due(logs), ms = due ? due - now_ms() : TURN_MS;
    struct pollfd p = { log_fd(logs), POLLIN, 0 };

    if (ms > TURN_MS) ms = TURN_MS;
    poll(&p, 1, ms > 0 ? (int)ms : 0);
}

/* One turn of a server's loop, which waits for nothing else. */
static void turn(void)
{
    int64_t due = log_due(logs);

    if (log_fd(logs) >= 0) wait_for_log();
    else if (due > clock_ms) clock_ms = due;
    log_run(logs);
}

/* An engine that talks with another process always waits for something. */
static bool waits(void)
{
    return log_fd(logs) >= 0 ? !log_idle(logs) : log_due(logs) != 0;
}

/* Turns until nothing waits any more. */
static UNUSED void turn_all(void)
{
    for (int i = 0; i < 3 || waits(); i++) {
        assert_true(i < TURNS_ALL);
        turn();
    }
}

static void turn_until(const bool *flag)
{
    for (int i = 0; !*flag; i++) {
        assert_true(i < TURNS_ALL);
        turn();
    }
}

static void set_flag(log_request_t *r)
{
    *(bool *)r->user = true;
}

/* Asks with the request, which has all but the base, and returns with its answer. */
#define ANSWER(ask, request) \
    do { \
        bool flag = false; \
        (request)->base.done = set_flag; \
        (request)->base.user = &flag; \
        ask(logs, request); \
        assert_false(flag); \
        turn_until(&flag); \
    } while (0)

/* Letters make ids: they sort as the letters do. */
static ulid_t id_of(char letter)
{
    ulid_t id;
    memset(&id, letter, sizeof id);
    return id;
}

static UNUSED uint64_t append_bytes(char project, char topic, ensign_slice_t value)
{
    log_new_t event = { id_of(topic), value, 0, { NULL, 0 } };
    log_append_t r;

    memset(&r, 0, sizeof r);
    r.project = id_of(project);
    r.events = &event;
    r.count = 1;
    ANSWER(log_append, &r);
    assert_int_equal(r.base.result, LOG_OK);
    return event.offset;
}

static UNUSED uint64_t append_text(char project, char topic, const char *text)
{
    return append_bytes(project, topic, slice_text(text));
}

static UNUSED log_put_t put_of(const char *key, const char *value, uint64_t revision)
{
    log_put_t r;

    memset(&r, 0, sizeof r);
    r.key = slice_text(key);
    r.value = slice_text(value);
    r.revision = revision;
    return r;
}

static UNUSED log_result_t put_text(const char *key, const char *value, uint64_t revision)
{
    log_put_t r = put_of(key, value, revision);

    ANSWER(log_put, &r);
    return r.base.result;
}

/* Removes a folder of a test with the files that the SQLite engine leaves in it. */
static UNUSED void remove_folder(const char *folder)
{
    static const char *const names[] = { "ensignd.db", "ensignd.db-wal", "ensignd.db-shm", "lock" };
    char path[128];

    for (size_t i = 0; i < COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        remove(path);
    }
    rmdir(folder);
}
#endif
