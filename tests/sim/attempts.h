/* attempts.h - the attempts of each call that a program opened, as the server sees them
 *
 * A call names itself by its number in the header x-call, so that the server knows which streams are its
 * attempts: how many there are, what was said on the one before, and when. */
#ifndef ATTEMPTS_H
#define ATTEMPTS_H

#include "net.h"

enum { CALLS_MOST = 2000, NOT_SAID = -2, FORBIDDEN = -1 };

typedef struct tries_t {
    ensign_retry_t retry;           /* no field is 0 */
    unsigned attempts;              /* the highest number of an attempt that came; 0: none did */
    unsigned streams;
    const stream_t *last;           /* the newest stream */
    bool refused_stream;            /* it was reset with REFUSED_STREAM */
    int status;                     /* that it was refused with; 0: it was not */
    int pushback_ms;                /* NOT_SAID, FORBIDDEN, or what its refusal said */
    uint64_t said_ms;               /* the time of that */
    bool given;                     /* the program has had HEADERS or a MESSAGE */
    bool acted;                     /* a message of the request was acted on, in any attempt */
} tries_t;

static tries_t calls[CALLS_MOST];
static unsigned calls_count;
static uint64_t calls_again, calls_ok; /* attempts behind a first one; streams that ended OK */

static void attempts_begin(void)
{
    memset(calls, 0, sizeof calls);
    calls_count = 0;
    calls_again = calls_ok = 0;
}

/* NULL: the list is full. */
static tries_t *attempts_new(const ensign_retry_t *retry)
{
    tries_t *t = calls_count < CALLS_MOST ? &calls[calls_count++] : NULL;
    if (t) t->retry = *retry;
    return t;
}

static tries_t *attempts_of(const stream_t *s)
{
    const char *number = peer_field(s, "x-call");
    return number ? &calls[strtoul(number, NULL, 10)] : NULL;
}

/* Did headers go out on it, with more to come behind them? */
static bool attempts_headers(const stream_t *s)
{
    return s->told_headers && (s->out.len > 0 || s->ending);
}

/* The client has heard what was said on the stream before, whose connection is still there. */
static void attempts_heard(const world_t *w, const tries_t *t, unsigned number)
{
    if (attempts_headers(t->last))
        sim_die("call %d has attempt %u behind the server's headers", (int)(t - calls), number);
    if (t->status && !(t->retry.statuses >> t->status & 1))
        sim_die("call %d has attempt %u behind the status %d, with the bits %x", (int)(t - calls), number,
                t->status, t->retry.statuses);
    if (t->pushback_ms == FORBIDDEN)
        sim_die("call %d has attempt %u, which the server has forbidden", (int)(t - calls), number);
    if (t->pushback_ms > 0 && w->now < t->said_ms + (uint64_t)t->pushback_ms)
        sim_die("call %d has attempt %u after %llu of the %d ms that the server asked for", (int)(t - calls),
                number, (llu_t)(w->now - t->said_ms), t->pushback_ms);
}

/* A stream of a call has come. */
static void attempts_stream(const world_t *w, const stream_t *s)
{
    const char *before = peer_field(s, "grpc-previous-rpc-attempts");
    unsigned number = 1 + (before ? (unsigned)strtoul(before, NULL, 10) : 0);
    tries_t *t = attempts_of(s);
    if (!t) return;
    if (number > t->retry.max_attempts)
        sim_die("call %d has attempt %u, %u are allowed", (int)(t - calls), number, t->retry.max_attempts);
    if (number < t->attempts || ++t->streams > t->retry.max_attempts + 1)
        sim_die("call %d has attempt %u on stream %u, behind attempt %u", (int)(t - calls), number,
                t->streams, t->attempts);
    if (number == t->attempts && !t->refused_stream)
        sim_die("call %d has attempt %u twice, though the server may have acted on it", (int)(t - calls),
                number);
    if (t->given) sim_die("call %d has attempt %u behind HEADERS", (int)(t - calls), number);
    if (number > 1 && number > t->attempts) {
        TALLY(server, attempt_again);
        if (++calls_again * 10 >= 50 + calls_ok)
            sim_die("%llu further attempts, with %llu calls that ended OK", (llu_t)calls_again,
                    (llu_t)calls_ok);
    }
    if (number > t->attempts && t->last && t->last->conn->alive) attempts_heard(w, t, number);
    t->attempts = number;
    t->last = s;
    t->refused_stream = false;
    t->status = 0;
    t->pushback_ms = NOT_SAID;
}

/* Refuses a stream by trailers alone; a call's is told when to come back, at times. */
static void attempts_refuse(world_t *w, stream_t *s, int status, const char *text)
{
    static const char *const words[] = { "0", "1", "400", "3000", "-1", "later" };
    tries_t *t = attempts_of(s);
    uint32_t which = t ? world_below(w, 3 * COUNT(words)) : COUNT(words);
    char number[16];
    if (t && !s->started) {
        t->status = status;
        t->said_ms = w->now;
    }
    if (s->started || which >= COUNT(words)) {
        peer_refuse(s, status, text);
        return;
    }
    t->pushback_ms = which < 4 ? atoi(words[which]) : FORBIDDEN;
    if (which < 4) TALLY(server, pushback);
    else TALLY(server, forbids_attempts);
    snprintf(number, sizeof number, "%d", status);
    peer_only(s, "200", "content-type", "application/grpc", "grpc-status", number, "grpc-message", text,
              "grpc-retry-pushback-ms", words[which], NULL);
}

/* What END or REPLY tells of the attempts. */
static void attempts_ended(const tries_t *t, uint32_t attempts, bool unprocessed)
{
    if (attempts < 1 || attempts < t->attempts || attempts > t->retry.max_attempts)
        sim_die("call %d ends after %u attempts; the server had %u, %u are allowed", (int)(t - calls),
                attempts, t->attempts, t->retry.max_attempts);
    if (unprocessed && t->acted)
        sim_die("call %d ends as not processed, and the server has acted on it", (int)(t - calls));
}

#endif
