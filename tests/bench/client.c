/* client.c - the bench's client by ensign.h
 *
 *   client publish|receive|single|paced EVENTS BYTES ENDPOINT [CA.pem]
 *   client idle HANDLES TURNS ENDPOINT
 *   client clients|clients-both COUNT EVENTS ENDPOINT
 *
 * publish: events as fast as they are taken, until each is acked. receive: events as fast as they come, each
 * acked. single: one event in flight, the next one when it is acked. paced: an event each millisecond.
 * idle: so many publishers and subscriptions are open, and the loop turns so often with nothing to do.
 * clients: so many clients in this process, each with a connection of its own, publish so many events each;
 * clients-both: each of them then receives as many.
 * All with the defaults of ensign.h, by ensign_wait; paced and idle by a loop of their own, for the sake of
 * the times. Compiled with BENCH_OPENSSL it encrypts by OpenSSL, see openssl.h, and does the first three.
 *
 * Prints a line of JSON, see measure.h. */
#define _GNU_SOURCE /* ppoll */
#define ENSIGN_IMPLEMENTATION
#include "ensign.h"
#include "measure.h"

#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>

enum { STALL_MS = 30000, PACE_NS = 1000000 };

static const char *endpoint, *ca_file;
static measure_t m;

#ifdef BENCH_OPENSSL
#include "openssl.h"
#endif

static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "client: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

/* ------------------------------------------------------------------ the client and its handles */
static ensign_t *open_client(uint32_t max_handles)
{
    ensign_desc_t d;
    ensign_error_t why;
    ensign_t *c;

    memset(&d, 0, sizeof d);
    d.endpoint = endpoint;
    d.token = "bench";
    d.tls.off = ca_file == NULL;
    d.tls.ca_file = ca_file;
#ifdef BENCH_OPENSSL
    d.tls.external = true;
    d.tls.ca_file = NULL;
    d.io = ENSIGN_IO_CALLER;
#endif
    d.max_handles = max_handles;
    if (ensign_create(&d, &c, &why) != ENSIGN_OK) die("%s", why.text);
    return c;
}

static ensign_publisher_t open_publisher(ensign_t *c)
{
    ensign_publisher_desc_t d;
    ensign_publisher_t p;

    memset(&d, 0, sizeof d);
    d.topic = "bench";
    p = ensign_publisher_open(c, &d);
    if (p.id == 0) die("%s", ensign_error(c)->text);
    return p;
}

static ensign_subscription_t open_subscription(ensign_t *c)
{
    static const char *topic = "bench";
    ensign_subscription_desc_t d;
    ensign_subscription_t s;

    memset(&d, 0, sizeof d);
    d.topics = &topic;
    d.topic_count = 1;
    s = ensign_subscription_open(c, &d);
    if (s.id == 0) die("%s", ensign_error(c)->text);
    return s;
}

static void wait_turn(ensign_t *c)
{
#ifdef BENCH_OPENSSL
    ssl_turn(c, ca_file);
    return;
#endif
    if (ensign_wait(c, NULL, 0, STALL_MS) != ENSIGN_OK) die("%s", ensign_error(c)->text);
}

/* What no run of the bench should meet. */
static void unexpected(const ensign_notice_t *n)
{
    if (n->error || n->last) die("%s: %s", ensign_notice_name(n->type), n->error ? n->error->text : "");
}

/* Pulls what is there; OPEN is counted. */
static void pull_opens(ensign_t *c, uint64_t *opens)
{
    const ensign_notice_t *n;

    while ((n = ensign_next(c)) != NULL) {
        unexpected(n);
        *opens += n->type == ENSIGN_NOTICE_OPEN;
    }
}

static void await_opens(ensign_t *c, uint64_t wanted)
{
    for (uint64_t opens = 0; opens < wanted; pull_opens(c, &opens)) wait_turn(c);
}

static void event_begin(ensign_event_t *e, size_t bytes)
{
    uint8_t *data = (uint8_t *)malloc(bytes + 1);

    if (!data) die("out of memory");
    memset(data, 'x', bytes);
    memset(e, 0, sizeof *e);
    e->data.ptr = data;
    e->data.len = bytes;
    e->mimetype = ENSIGN_MIME_APPLICATION_JSON;
    if (ensign_type_parse("BenchEvent", "1.2.3", &e->type) != ENSIGN_OK) die("no type");
}

/* ------------------------------------------------------------------ publish */
static void pull_acks(ensign_t *c)
{
    const ensign_notice_t *n;

    while ((n = ensign_next(c)) != NULL) {
        unexpected(n);
        if (n->type == ENSIGN_NOTICE_ACK) measure_done(&m);
    }
}

/* False: there is no room now. */
static bool publish_one(ensign_t *c, ensign_publisher_t p, ensign_event_t *e)
{
    int rc;

    if (m.sent) m.sent[e->tag] = measure_clock();
    rc = ensign_publish(c, p, e);
    if (rc < 0) die("%s", ensign_error(c)->text);
    e->tag += rc == ENSIGN_OK;
    return rc == ENSIGN_OK;
}

static void run_publish(uint64_t total, size_t bytes, bool single)
{
    ensign_t *c = open_client(0);
    ensign_publisher_t p = open_publisher(c);
    ensign_event_t e;

    event_begin(&e, bytes);
    await_opens(c, 1);
    measure_begin(&m, total, single);
    while (m.done < total) {
        if (!single || e.tag == m.done)
            while (e.tag < total && publish_one(c, p, &e) && !single) continue;
        wait_turn(c);
        pull_acks(c);
    }
    measure_print(&m);
    ensign_destroy(c);
    free((void *)(uintptr_t)e.data.ptr);
}

/* ------------------------------------------------------------------ receive */
static void run_receive(uint64_t total, size_t bytes)
{
    ensign_t *c = open_client(0);
    ensign_subscription_t s = open_subscription(c);
    const ensign_notice_t *n;

    measure_begin(&m, total, false);
    while (m.done <= total) { /* the one behind them says that all acks have arrived */
        wait_turn(c);
        while ((n = ensign_next(c)) != NULL) {
            unexpected(n);
            if (n->type != ENSIGN_NOTICE_EVENT) continue;
            if (n->as.event->data.len != bytes) die("an event of %zu bytes", n->as.event->data.len);
            if (m.done < total && ensign_ack(c, s, n->as.event->token) != ENSIGN_OK)
                die("%s", ensign_error(c)->text);
            measure_done(&m);
        }
    }
    measure_print(&m);
    ensign_destroy(c);
}

/* ------------------------------------------------------------------ paced: a loop that waits for ns */
static int poll_set_get(ensign_t *c, ensign_poll_t *set, struct pollfd *p)
{
    int n = ensign_poll_set(c, set);

    for (int i = 0; i < n; i++) {
        p[i].fd = (int)set[i].fd;
        p[i].events = (short)((set[i].want & ENSIGN_READ ? POLLIN : 0) |
                              (set[i].want & ENSIGN_WRITE ? POLLOUT : 0));
        p[i].revents = 0;
    }
    return n;
}

static void poll_set_put(ensign_poll_t *set, const struct pollfd *p, int n)
{
    for (int i = 0; i < n; i++)
        set[i].ready = (p[i].revents & POLLIN ? ENSIGN_READ : 0) |
                       (p[i].revents & POLLOUT ? ENSIGN_WRITE : 0) |
                       (p[i].revents & (POLLERR | POLLHUP) ? ENSIGN_HUP : 0);
}

static void turn_until(ensign_t *c, uint64_t when)
{
    ensign_poll_t set[ENSIGN_MAX_FDS];
    struct pollfd p[ENSIGN_MAX_FDS];
    int n = poll_set_get(c, set, p), due = ensign_timeout(c, ensign_now_ms());
    uint64_t now = measure_clock(), wait = when > now ? when - now : 0;
    struct timespec t;

    if (due >= 0 && (uint64_t)due * 1000000 < wait) wait = (uint64_t)due * 1000000;
    t.tv_sec = (time_t)(wait / 1000000000);
    t.tv_nsec = (long)(wait % 1000000000);
    (void)ppoll(p, (nfds_t)n, &t, NULL);
    poll_set_put(set, p, n);
    if (ensign_step(c, set, (size_t)n, ensign_now_ms()) != ENSIGN_OK) die("%s", ensign_error(c)->text);
}

static void run_paced(uint64_t total, size_t bytes)
{
    ensign_t *c = open_client(0);
    ensign_publisher_t p = open_publisher(c);
    uint64_t when = measure_clock();
    ensign_event_t e;

    event_begin(&e, bytes);
    await_opens(c, 1);
    measure_begin(&m, total, true);
    for (when = measure_clock(); m.done < total; pull_acks(c)) {
        if (e.tag < total && measure_clock() >= when && publish_one(c, p, &e)) {
            when += PACE_NS;
            (void)ensign_step(c, NULL, 0, ensign_now_ms()); /* it leaves now */
        }
        turn_until(c, e.tag < total ? when : when + STALL_MS * (uint64_t)1000000);
    }
    measure_print(&m);
    ensign_destroy(c);
    free((void *)(uintptr_t)e.data.ptr);
}

/* ------------------------------------------------------------------ growth */
/* Publishers and subscriptions in turn. The server has 0 events, so each subscription gets the one that says
 * it has acked all. */
static void run_idle(uint64_t handles, uint64_t turns)
{
    ensign_t *c = open_client((uint32_t)handles);
    ensign_poll_t set[ENSIGN_MAX_FDS];
    const ensign_notice_t *n;
    uint64_t begin, wanted = handles + handles / 2;

    for (uint64_t i = 0; i < handles; i++) {
        if (i % 2 == 0) (void)open_publisher(c);
        else (void)open_subscription(c);
    }
    while (wanted > 0) {
        wait_turn(c);
        while ((n = ensign_next(c)) != NULL) {
            unexpected(n);
            wanted -= n->type == ENSIGN_NOTICE_OPEN || n->type == ENSIGN_NOTICE_EVENT;
        }
    }
    begin = measure_cpu();
    for (uint64_t i = 0; i < turns; i++) {
        (void)ensign_poll_set(c, set);
        (void)ensign_timeout(c, ensign_now_ms());
        (void)ensign_step(c, set, 0, ensign_now_ms());
    }
    printf("{\"turn_ns\": %.1f}\n", (double)(measure_cpu() - begin) / (double)turns);
    ensign_destroy(c);
}

/* The events of this client's, and the one behind them. */
static void receive_some(ensign_t *c, uint64_t events)
{
    ensign_subscription_t s = open_subscription(c);
    const ensign_notice_t *n;
    uint64_t got = 0;

    while (got <= events) {
        wait_turn(c);
        while ((n = ensign_next(c)) != NULL) {
            unexpected(n);
            if (n->type == ENSIGN_NOTICE_EVENT && ++got <= events) (void)ensign_ack(c, s, n->as.event->token);
        }
    }
}

static void run_clients(uint64_t count, uint64_t events, bool both)
{
    ensign_t **all = (ensign_t **)calloc(count, sizeof *all);
    long before = measure_status("VmRSS");
    ensign_stats_t stats;

    if (!all) die("out of memory");
    measure_begin(&m, count * events, false);
    for (uint64_t i = 0; i < count; i++) {
        ensign_publisher_t p;
        ensign_event_t e;

        all[i] = open_client(0);
        p = open_publisher(all[i]);
        event_begin(&e, 100);
        await_opens(all[i], 1);
        while (e.tag < events && publish_one(all[i], p, &e)) continue;
        while (m.done < (i + 1) * events) wait_turn(all[i]), pull_acks(all[i]);
        if (both) receive_some(all[i], events);
        free((void *)(uintptr_t)e.data.ptr);
    }
    ensign_stats(all[0], ENSIGN_CLIENT, &stats);
    printf("{\"client_kb\": %.1f, \"memory\": %zu}\n",
           (double)(measure_status("VmRSS") - before) / (double)count, stats.memory);
    for (uint64_t i = 0; i < count; i++) ensign_destroy(all[i]);
    free(all);
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    uint64_t second = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;

    if (argc < 5 || first == 0) return fprintf(stderr, "usage: see the head of client.c\n"), 2;
    endpoint = argv[4];
    if (argc > 5) ca_file = argv[5];
    if (strcmp(argv[1], "publish") == 0) run_publish(first, second, false);
    else if (strcmp(argv[1], "single") == 0) run_publish(first, second, true);
    else if (strcmp(argv[1], "receive") == 0) run_receive(first, second);
    else if (strcmp(argv[1], "paced") == 0) run_paced(first, second);
    else if (strcmp(argv[1], "idle") == 0) run_idle(first, second);
    else if (strcmp(argv[1], "clients") == 0) run_clients(first, second, false);
    else if (strcmp(argv[1], "clients-both") == 0) run_clients(first, second, true);
    else die("no mode %s", argv[1]);
    return 0;
}
