/* tally.h - how often each action, fault, answer and notice happened over all seeds, and how a seed fails
 *
 * The counts lie in memory that the process of a run shares with the one that started it: they outlive a run
 * that crashes. A count of the list that is still 0 after 2,000 seeds means that the model does not do what
 * it claims to do, so that is a failure too. */
#ifndef TALLY_H
#define TALLY_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "../seq/proto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <cmocka.h>

/* What happens: a group, and a word. */
#define TALLY_LIST(X)                                                                                        \
    X(user, publish) X(user, publish_by_name) X(user, publish_by_id) X(user, publish_refused)                \
    X(user, publish_again) X(user, drain) X(user, flush) X(user, close) X(user, close_in_time)               \
    X(user, cancel) X(user, forget) X(user, hold) X(user, ack) X(user, nack) X(user, destroy)                \
    X(user, publisher) X(user, at_most_once) X(user, quiet_acks) X(user, ensure_topic)                       \
    X(user, subscription) X(user, query) X(user, watch) X(user, create) X(user, ensure) X(user, find)        \
    X(user, exists) X(user, list) X(user, status) X(user, unary_call) X(user, streaming_call)                \
    X(user, send) X(user, half_close) X(user, endpoints) X(user, unix_socket) X(user, proxy)                 \
    X(user, retry) X(user, retry_of_method) X(user, tls) X(user, resumed) X(user, resume) X(user, from)      \
    X(server, stored) X(server, stored_again) X(server, ack) X(server, ack_late) X(server, ack_twice)        \
    X(server, ack_foreign) X(server, ack_future) X(server, ack_overtaken)                                    \
    X(server, nack_unknown_topic) X(server, nack_archived) X(server, nack_other) X(server, ready)            \
    X(server, no_topics) X(server, topic_made) X(server, topic_archived) X(server, topic_removed)            \
    X(server, event) X(server, event_again) X(server, event_too_large)                                       \
    X(server, places_asked) X(server, rows_asked) X(server, row) X(server, health)                          \
    X(server, echo) X(server, answer)                                                                       \
    X(server, close_stream) X(server, expired_token) X(server, ping)                                         \
    X(server, attempt_again) X(server, pushback) X(server, forbids_attempts)                                 \
    X(fault, cut_in) X(fault, cut_out) X(fault, cut_now) X(fault, away) X(fault, dial_refused)               \
    X(fault, dial_silent) X(fault, accepts_and_closes) X(fault, accepts_and_mute) X(fault, no_address)       \
    X(fault, goaway_notice) X(fault, goaway_last) X(fault, goaway_now) X(fault, goaway_with_streams)         \
    X(fault, no_streams) X(fault, few_streams) X(fault, small_window)                                        \
    X(fault, refuse_status) X(fault, refuse_http) X(fault, blanks_in_text) X(fault, long_text)               \
    X(fault, reset) X(fault, end_status) X(fault, end_bare)                                                  \
    X(fault, mute_stream) X(fault, stores_and_mute) X(fault, mute_connection) X(fault, auth_away)            \
    X(fault, auth_mute) X(fault, auth_error) X(fault, auth_refuses) X(fault, token_revoked)                  \
    X(fault, little_memory) X(fault, no_memory) X(fault, gives_up) X(fault, outage) X(fault, maintenance)    \
    X(fault, places_change) X(fault, log_anew) X(fault, log_loses_its_end)                                   \
    X(fault, proxy_refuses) X(fault, proxy_502) X(fault, proxy_mute) X(fault, calm) X(fault, none)

/* Tallied by number: statuses 1 to 16, HTTP statuses, codes of RST_STREAM, notices. */
#define TALLY_STATUSES 17
#define TALLY_HTTP     8
#define TALLY_RESETS   14
#define TALLY_NOTICES  (ENSIGN_NOTICE_END + 1)

typedef unsigned long long llu_t;   /* for printf */

typedef enum tally_kind_t {
#define X(group, word) TALLY_##group##_##word,
    TALLY_LIST(X)
#undef X
    TALLY_KINDS
} tally_kind_t;

typedef struct tally_t {
    uint64_t seed;                  /* that runs */
    uint64_t done;                  /* seeds */
    uint64_t failed;
    char why[400];                  /* of the last failure, if it was told */
    uint64_t count[TALLY_KINDS];
    uint64_t status[TALLY_STATUSES], http[TALLY_HTTP], reset[TALLY_RESETS], notice[TALLY_NOTICES];
} tally_t;

static tally_t *tally;

static bool verbose;
static uint64_t verbose_ms;         /* the time of the run */

static void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void tell(const char *format, ...)
{
    va_list args;
    if (!verbose) return;
    printf("# %8llu ", (llu_t)verbose_ms);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

#define TALLY(group, word)                                                                                   \
    do {                                                                                                     \
        tally->count[TALLY_##group##_##word]++;                                                              \
        tell(#group " " #word);                                                                              \
    } while (0)

static void tally_open(void)
{
    void *p = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) abort();
    tally = (tally_t *)p;
}

/* Ends this process, and with it the run of this seed; the parent tells `why`. */
static void sim_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void sim_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(tally->why, sizeof tally->why, format, args);
    va_end(args);
    fflush(stdout);
    if (getenv("SIM_ABORT")) abort(); /* for a debugger */
    _exit(1);
}

/* The headers of tests/seq end a test by this. */
#undef fail_msg
#define fail_msg(...) sim_die(__VA_ARGS__)

static const int tally_http[TALLY_HTTP] = { 400, 401, 403, 404, 429, 502, 503, 504 };

static unsigned tally_zero;         /* of what was printed */

static void tally_row(const char *name, const uint64_t *counts, size_t first, size_t end, const int *labels)
{
    size_t i;
    printf("\n# %s", name);
    for (i = first; i < end; i++) {
        printf(" %d:%llu", labels ? labels[i] : (int)i, (llu_t)counts[i]);
        if (counts[i] == 0) tally_zero++;
    }
}

/* Three to a line, a headline for each group. */
static void tally_groups(void)
{
    static const struct { const char *group, *word; } names[] = {
#define X(group, word) { #group, #word },
        TALLY_LIST(X)
#undef X
    };
    const char *group = "";
    unsigned i, column = 0;
    for (i = 0; i < TALLY_KINDS; i++) {
        if (strcmp(group, names[i].group) != 0) {
            group = names[i].group;
            printf("%s# %s", i ? "\n" : "", group);
            column = 0;
        }
        printf("%s%-20s %10llu", column++ % 3 == 0 ? "\n#   " : "   ", names[i].word, (llu_t)tally->count[i]);
        if (tally->count[i] == 0) tally_zero++;
    }
}

static void tally_notices(void)
{
    unsigned i;
    printf("\n# notices");
    for (i = 1; i < TALLY_NOTICES; i++) {
        /* answers to questions that the model does not know */
        if (i >= ENSIGN_NOTICE_PROJECT && i <= ENSIGN_NOTICE_PLAN) continue;
        if (i == ENSIGN_NOTICE_TOPIC_STATE) continue;
        printf(" %s:%llu", ensign_notice_name((ensign_notice_type_t)i) + strlen("ENSIGN_NOTICE_"),
               (llu_t)tally->notice[i]);
        if (tally->notice[i] == 0) tally_zero++;
    }
    printf("\n");
}

/* How many of the counts are 0. */
static unsigned tally_print(void)
{
    tally_zero = 0;
    tally_groups();
    tally_row("refused with status", tally->status, 1, TALLY_STATUSES, NULL);
    tally_row("refused by HTTP", tally->http, 0, TALLY_HTTP, tally_http);
    tally_row("reset with code", tally->reset, 0, TALLY_RESETS, NULL);
    tally_notices();
    if (tally_zero) printf("# %u of them never happened\n", tally_zero);
    return tally_zero;
}

#endif
