/* soak.h - what the long runs and the load of the bench share: a loop over several clients, numbered events,
 * results as lines. CLIENTS_MAX [2] clients at most. */
#ifndef SOAK_H
#define SOAK_H
#define ENSIGN_IMPLEMENTATION
#include "ensign.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STALL_MS = 60000,           /* nothing came for so long: the run has failed */
    TURN_MS = 1000,             /* the longest wait of a turn, */
    PACED_MS = 5                /* and when events are to go out at a steady pace */
};

/* ------------------------------------------------------------------ results */
static int results, failures;

static inline void result(bool holds, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    results++;
    if (!holds) failures++;
    printf("%sok %d - ", holds ? "" : "not ", results);
    vprintf(format, args);
    printf("\n");
    fflush(stdout);
    va_end(args);
}

static inline void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("not ok %d - ", results + 1);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    exit(1);
}

/* ------------------------------------------------------------------ one turn of the loop, for all clients */
#ifndef CLIENTS_MAX
#define CLIENTS_MAX 2
#endif

static inline void turn(ensign_t *const *clients, size_t count, int wait_ms)
{
    ensign_poll_t set[CLIENTS_MAX][ENSIGN_MAX_FDS];
    struct pollfd fds[CLIENTS_MAX * ENSIGN_MAX_FDS];
    size_t used[CLIENTS_MAX], n = 0, at = 0;

    for (size_t i = 0; i < count; i++) {
        int timeout = ensign_timeout(clients[i], ensign_now_ms());
        if (timeout >= 0 && timeout < wait_ms) wait_ms = timeout;
        used[i] = (size_t)ensign_poll_set(clients[i], set[i]);
        for (size_t k = 0; k < used[i]; k++, n++) {
            int want = set[i][k].want;
            fds[n].fd = want & ENSIGN_GONE ? -1 : (int)set[i][k].fd;
            fds[n].events = (short)((want & ENSIGN_READ ? POLLIN : 0) | (want & ENSIGN_WRITE ? POLLOUT : 0));
            fds[n].revents = 0;
        }
    }
    if (poll(fds, (nfds_t)n, wait_ms) < 0 && errno != EINTR) die("poll: %s", strerror(errno));
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < used[i]; k++, at++) {
            int got = fds[at].revents;
            set[i][k].ready = (got & POLLIN ? ENSIGN_READ : 0) | (got & POLLOUT ? ENSIGN_WRITE : 0) |
                              (got & (POLLHUP | POLLERR) ? ENSIGN_HUP : 0);
        }
        if (ensign_step(clients[i], set[i], used[i], ensign_now_ms()) < 0)
            die("step: %s", ensign_error(clients[i])->text);
    }
}

/* A client of the service that the ENSIGN_ variables name; *d has what they leave open. */
static inline ensign_t *client_open(ensign_desc_t *d)
{
    ensign_error_t why;
    ensign_t *c = NULL;

    if (ensign_desc_env(d, &why) != ENSIGN_OK) die("environment: %s", why.text);
    if (ensign_create(d, &c, &why) != ENSIGN_OK) die("client: %s", why.text);
    return c;
}

/* Makes the topic if it is not there. */
static inline void topic_ensure(ensign_t *c, const char *topic)
{
    const ensign_notice_t *n = NULL;
    ensign_request_t r = ensign_topic_ensure(c, topic, NULL);

    if (r.id == 0) die("topic %s: %s", topic, ensign_error(c)->text);
    if (ensign_await(c, r.id, STALL_MS, &n) != ENSIGN_OK) die("topic %s: %s", topic, ensign_error(c)->text);
    if (n->error) die("topic %s: %s", topic, n->error->text);
}

/* How many events are due by now, at `per_second` since `begin`; 0: all of them. */
static inline uint64_t due(uint64_t begin, uint64_t per_second)
{
    return per_second ? 1 + (ensign_now_ms() - begin) * per_second / 1000 : UINT64_MAX;
}

/* ------------------------------------------------------------------ events that can be told apart
   The number in ten digits, then dots. */
static inline void event_fill(char *data, size_t size, uint64_t number)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%010" PRIu64, number);
    memset(data, '.', size);
    memcpy(data, digits, size < 10 ? size : 10);
}

static inline uint64_t event_number(ensign_slice_t data)
{
    char digits[11] = { 0 };
    memcpy(digits, data.ptr, data.len < 10 ? data.len : 10);
    return strtoull(digits, NULL, 10);
}
#endif
