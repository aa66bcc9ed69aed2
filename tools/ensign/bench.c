/* bench.c - ensign bench: how many events a second, how long until one is stored and until it is back
 *
 * Two parts. In line: as many as the server takes, where most of an event's time is waiting behind others.
 * Alone: one event at a time. Publisher and subscriber are this process, on one connection, so the CPU is
 * that of both, and the figures hold for this client, this network and that server together. */
#include "session.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define NEVER UINT32_MAX
#define LOST_AFTER_MS 3000      /* all are stored, and nothing came for so long: the rest is lost */
#define TURN_EVENTS 256
#define MARK_BYTES 16           /* at the front of the data: the run's number, the event's */

typedef struct times_t {
    uint32_t sent, stored, received;
} times_t; /* microseconds from the start; NEVER */

typedef struct bench_t {
    session_t s;
    const options_t *o;
    ensign_publisher_t pub;
    ensign_subscription_t sub;
    ensign_event_t e;
    uint8_t *data;
    uint64_t run;
    times_t *times;
    uint64_t put, acked, nacked, received, target;
    uint64_t start_us, last_ms; /* last_ms: when something came */
    bool     room, open, stopped, failed;
    double   seconds, receive_seconds, cpu_seconds;   /* of the first part */
} bench_t;

typedef struct spread_t { size_t count; double p50, p90, p99, max; } spread_t;  /* microseconds */

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static uint32_t since_start(const bench_t *b)
{
    uint64_t us = now_us() - b->start_us;
    return us < NEVER ? (uint32_t)us : NEVER - 1;
}

static double cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* ---- events out and back */

static bool put_one(bench_t *b)
{
    int rc;

    memcpy(b->data, &b->run, 8);
    memcpy(b->data + 8, &b->put, 8);
    b->e.tag = b->put;
    b->times[b->put].sent = since_start(b);
    rc = ensign_publish(b->s.c, b->pub, &b->e);
    if (rc == ENSIGN_OK) b->put++;
    if (rc > 0) b->room = false;
    if (rc < 0) {
        session_error(&b->s, NULL, ensign_error(b->s.c));
        b->failed = true;
    }
    return rc == ENSIGN_OK;
}

static int pace_ms(const bench_t *b)
{
    double due = b->o->rate > 0 ? (double)b->put * 1e6 / b->o->rate : 0, gone = since_start(b);
    return due <= gone ? 0 : due - gone > 1e6 ? 1000 : (int)((due - gone) / 1000) + 1;
}

static void take_back(bench_t *b, const ensign_event_t *e)
{
    uint64_t mark[2];

    ensign_ack(b->s.c, b->sub, e->token);
    if (e->data.len < MARK_BYTES) return;
    memcpy(mark, e->data.ptr, MARK_BYTES);
    if (mark[0] != b->run || mark[1] >= b->put || b->times[mark[1]].received != NEVER) return; /* not ours */
    b->times[mark[1]].received = since_start(b);
    b->received++;
}

static void take_nack(bench_t *b, const ensign_notice_t *n)
{
    if (b->nacked++ == 0) session_error(&b->s, NULL, n->error);
}

static void take(bench_t *b)
{
    const ensign_notice_t *n;

    while ((n = session_pull(&b->s)) != NULL) {
        b->last_ms = ensign_now_ms();
        if (n->type == ENSIGN_NOTICE_OPEN && n->handle == b->sub.id) b->open = true;
        if (n->type == ENSIGN_NOTICE_ROOM) b->room = true;
        if (n->type == ENSIGN_NOTICE_EVENT) take_back(b, n->as.event);
        if (n->type == ENSIGN_NOTICE_NACK) take_nack(b, n);
        if (n->type == ENSIGN_NOTICE_ACK) {
            b->times[n->as.ack.tag].stored = since_start(b);
            b->acked++;
        }
        if (n->type == ENSIGN_NOTICE_GAP || n->type == ENSIGN_NOTICE_END) {
            if (n->error) session_error(&b->s, NULL, n->error);
            b->failed = b->failed || n->type == ENSIGN_NOTICE_END;
        }
    }
}

/* Waits for one turn. False: it is over, or a signal said so. */
static bool turn(bench_t *b, int ms)
{
    woke_t woke = session_wait(&b->s, -1, ms);

    take(b);
    if (woke == WOKE_STOP) b->stopped = true;
    if (woke == WOKE_OVER) b->failed = true;
    return !b->failed;
}

static bool all_stored(const bench_t *b)
{
    return b->acked + b->nacked == b->put;
}

static bool all_back(const bench_t *b)
{
    if (b->o->no_subscribe || b->received >= b->acked) return true;
    return ensign_now_ms() - b->last_ms > LOST_AFTER_MS;
}

/* Until `target` events are out and answered, `window` of them at most on the way. */
static bool run_part(bench_t *b, uint64_t target, uint64_t window)
{
    while (b->put < target || !all_stored(b) || !all_back(b)) {
        if (b->stopped) target = b->put;
        for (int i = 0; i < TURN_EVENTS && b->put < target && b->room && pace_ms(b) == 0; i++) {
            uint64_t done = b->o->no_subscribe ? b->acked : b->received < b->acked ? b->received : b->acked;
            if (b->put - done >= window || !put_one(b)) break;
        }
        if (!turn(b, b->put < target && b->room && window > 1 ? pace_ms(b) : 1000)) return false;
        if (b->stopped && all_stored(b)) return true;
        if (window == 1 && !b->o->no_subscribe && b->received < b->acked && all_back(b))
            return true; /* one is lost: no figure */
    }
    return true;
}

static bool in_line(bench_t *b)
{
    double cpu = cpu_seconds();
    bool ok;

    b->start_us = now_us();
    ok = run_part(b, b->o->events, UINT64_MAX);
    b->cpu_seconds = cpu_seconds() - cpu;
    for (uint64_t i = 0; i < b->put; i++) {
        const times_t *t = &b->times[i];
        if (t->stored != NEVER && t->stored / 1e6 > b->seconds) b->seconds = t->stored / 1e6;
        if (t->received != NEVER && t->received / 1e6 > b->receive_seconds)
            b->receive_seconds = t->received / 1e6;
    }
    return ok;
}

/* ---- what came of it */

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Of events [from, to): from sent to stored, or to received. */
static spread_t spread(const bench_t *b, uint64_t from, uint64_t to, bool back)
{
    uint32_t *all = x_realloc(NULL, (size_t)(to - from) * sizeof *all);
    spread_t r = { 0, 0, 0, 0, 0 };

    for (uint64_t i = from; i < to; i++) {
        uint32_t end = back ? b->times[i].received : b->times[i].stored;
        if (end != NEVER) all[r.count++] = end - b->times[i].sent;
    }
    if (r.count > 0) {
        qsort(all, r.count, sizeof *all, by_size);
        r.p50 = all[(r.count - 1) * 50 / 100];
        r.p90 = all[(r.count - 1) * 90 / 100];
        r.p99 = all[(r.count - 1) * 99 / 100];
        r.max = all[r.count - 1];
    }
    free(all);
    return r;
}

static void json_spread(const char *key, spread_t r)
{
    if (r.count == 0) {
        json_null(key);
        return;
    }
    json_object(key);
    json_uint("count", r.count);
    json_number("p50_us", r.p50);
    json_number("p90_us", r.p90);
    json_number("p99_us", r.p99);
    json_number("max_us", r.max);
    json_close();
}

static void text_spread(const char *name, spread_t r)
{
    char text[4][NUMBER_TEXT];

    if (r.count == 0) return;
    out_format("  %-28s %10s %10s %10s %10s\n", name, text_duration(r.p50 / 1e6, text[0]),
               text_duration(r.p90 / 1e6, text[1]), text_duration(r.p99 / 1e6, text[2]),
               text_duration(r.max / 1e6, text[3]));
}

static void text_rate(const bench_t *b, const char *name, uint64_t count, double seconds)
{
    char n[NUMBER_TEXT], rate[NUMBER_TEXT], size[NUMBER_TEXT];
    double each = seconds > 0 ? (double)count / seconds : 0;

    out_format("  %-28s %10s   %10s events/s   %s/s\n", name, text_number(count, n),
               text_number((uint64_t)each, rate), text_size(each * (double)b->o->size, size));
}

static void print_text(const bench_t *b, uint64_t line)
{
    uint64_t stored = spread(b, 0, line, false).count, back = spread(b, 0, line, true).count;

    out_format("in line, events of %" PRIu64 " bytes\n", b->o->size);
    text_rate(b, "stored", stored, b->seconds);
    if (!b->o->no_subscribe) text_rate(b, "received", back, b->receive_seconds);
    if (line > 0)
        out_format("  %-28s %10.2f us an event\n", "CPU of this process",
                   b->cpu_seconds * 1e6 / (double)line);
    out_format("%-30s %10s %10s %10s %10s\n", "time from publish until", "p50", "p90", "p99", "max");
    text_spread("stored, in line", spread(b, 0, line, false));
    text_spread("received, in line", spread(b, 0, line, true));
    text_spread("stored, alone", spread(b, line, b->put, false));
    text_spread("received, alone", spread(b, line, b->put, true));
}

static void print_json(const bench_t *b, uint64_t line)
{
    json_object(NULL);
    json_text("kind", "bench");
    json_uint("size", b->o->size);
    json_uint("published", line);
    json_uint("stored", spread(b, 0, line, false).count);
    json_uint("received", spread(b, 0, line, true).count);
    json_number("stored_seconds", b->seconds);
    json_number("received_seconds", b->receive_seconds);
    json_number("cpu_seconds", b->cpu_seconds);
    json_spread("stored_in_line", spread(b, 0, line, false));
    json_spread("received_in_line", spread(b, 0, line, true));
    json_spread("stored_alone", spread(b, line, b->put, false));
    json_spread("received_alone", spread(b, line, b->put, true));
    json_close();
}

/* ---- the whole */

static bool open_streams(bench_t *b)
{
    const char *topic = b->o->args.at[0];
    ensign_publisher_desc_t pd;
    ensign_subscription_desc_t sd;

    if (!session_open(&b->s, b->o, true)) return false;
    if (b->o->ensure_topic && !session_answer(&b->s, ensign_topic_ensure(b->s.c, topic, NULL).id, NULL))
        return false;
    memset(&pd, 0, sizeof pd);
    memset(&sd, 0, sizeof sd);
    if (!topic_is_id(topic, &b->e.to_topic_id)) pd.topic = topic;
    sd.topics = &topic;
    sd.topic_count = 1;
    b->pub = ensign_publisher_open(b->s.c, &pd);
    if (!b->o->no_subscribe) b->sub = ensign_subscription_open(b->s.c, &sd);
    if (b->pub.id == 0 || (!b->o->no_subscribe && b->sub.id == 0)) {
        session_error(&b->s, NULL, ensign_error(b->s.c));
        return false;
    }
    while (!b->o->no_subscribe && !b->open && !b->stopped)
        if (!turn(b, -1)) return false;
    return !b->stopped;
}

static void prepare(bench_t *b)
{
    size_t most = (size_t)(b->o->events + b->o->trips);

    b->run = now_us() << 20 ^ (uint64_t)getpid();
    b->data = x_realloc(NULL, (size_t)b->o->size);
    for (size_t i = 0; i < b->o->size; i++) b->data[i] = (uint8_t)(i * 37 + i / 7);
    b->e.data.ptr = b->data;
    b->e.data.len = (size_t)b->o->size;
    b->times = x_realloc(NULL, most * sizeof *b->times);
    memset(b->times, 0xFF, most * sizeof *b->times); /* NEVER */
    b->room = true;
}

static void measure(bench_t *b)
{
    bool ok = in_line(b);
    uint64_t line = b->put, missing;

    if (ok && !b->stopped && b->nacked == 0 && b->received >= b->acked * !b->o->no_subscribe)
        run_part(b, line + b->o->trips, 1);
    if (b->o->json) print_json(b, line);
    else print_text(b, line);
    missing = b->o->no_subscribe || b->received >= b->acked ? 0 : b->acked - b->received;
    if (missing > 0 && !b->stopped) {
        complain("%" PRIu64
                 " events were stored and did not come back: the subscriber fell behind; try --rate",
                 missing);
        session_fail(&b->s, EXIT_FAILED);
    }
}

int run_bench(const options_t *o)
{
    static bench_t b;

    b.o = o;
    prepare(&b);
    if (open_streams(&b)) measure(&b);
    free(b.times);
    free(b.data);
    return session_end(&b.s);
}
