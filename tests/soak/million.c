/* million.c - many events: no allocation on the way, memory within the bounds, every event once and in order
 *
 *   million publish|receive|both TOPIC COUNT BYTES [EVENTS_A_SECOND]
 *
 * The service is told by the ENSIGN_ variables. `receive` says "ready" on standard error when it is
 * subscribed. `both` keeps the publisher at most AHEAD events before the subscriber, so that no server has a
 * reason to drop any.
 */
#include "soak.h"
#include "../heap.h"

#include <sys/resource.h>

enum { AHEAD = 8192, BYTES_MAX = 65536 };

/* ------------------------------------------------------------------ the two sides */
typedef struct side_t {         /* one client with its one stream */
    ensign_t *client;
    heap_t heap;
    uint64_t done;              /* events acked, or received in order */
    uint64_t steady_calls;      /* heap.calls when the first tenth was through */
    double steady_cpu;
    size_t bound;
} side_t;

static uint64_t total, per_second;
static size_t bytes;
static char payload[BYTES_MAX];

static void open_client(side_t *s)
{
    ensign_desc_t d;

    memset(&d, 0, sizeof d);
    d.alloc = heap_realloc;
    d.user = &s->heap;
    s->client = client_open(&d);
    s->bound = ensign_memory_bound(&d);
}

static ensign_publisher_t open_publisher(side_t *s, const char *topic)
{
    ensign_publisher_desc_t d;
    ensign_publisher_t p;

    open_client(s);
    topic_ensure(s->client, topic);
    memset(&d, 0, sizeof d);
    d.topic = topic;
    p = ensign_publisher_open(s->client, &d);
    if (p.id == 0) die("publisher: %s", ensign_error(s->client)->text);
    s->bound += ensign_publisher_memory_bound(&d);
    return p;
}

static ensign_subscription_t open_subscription(side_t *s, const char *topic)
{
    ensign_subscription_desc_t d;
    ensign_subscription_t sub;
    const ensign_notice_t *n;

    open_client(s);
    topic_ensure(s->client, topic);
    memset(&d, 0, sizeof d);
    d.topics = &topic;
    d.topic_count = 1;
    sub = ensign_subscription_open(s->client, &d);
    if (sub.id == 0) die("subscription: %s", ensign_error(s->client)->text);
    s->bound += ensign_subscription_memory_bound(&d);
    if (ensign_await(s->client, sub.id, STALL_MS, &n) != ENSIGN_OK)
        die("subscription: %s", ensign_error(s->client)->text);
    if (n->type != ENSIGN_NOTICE_OPEN) die("subscription: %s", n->error ? n->error->text : "not OPEN");
    fprintf(stderr, "ready\n");
    return sub;
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* One more event is through. After a tenth of them every buffer has its size: nothing may be taken now. */
static void count(side_t *s)
{
    if (++s->done == total / 10 + 1) {
        s->steady_calls = s->heap.calls;
        s->steady_cpu = cpu_seconds();
    }
}

static void publish_some(side_t *s, ensign_publisher_t p, uint64_t *next, uint64_t limit)
{
    ensign_event_t e;
    int rc = ENSIGN_OK;

    memset(&e, 0, sizeof e);
    while (*next < total && *next < limit && rc == ENSIGN_OK) {
        event_fill(payload, bytes, *next);
        e.data.ptr = (const uint8_t *)payload;
        e.data.len = bytes;
        e.mimetype = ENSIGN_MIME_TEXT_PLAIN;
        e.tag = *next;
        rc = ensign_publish(s->client, p, &e);
        if (rc < 0) die("publish of event %" PRIu64 ": %s", *next, ensign_error(s->client)->text);
        if (rc == ENSIGN_OK) ++*next;
    }
}

static void take_acks(side_t *s)
{
    const ensign_notice_t *n;

    while ((n = ensign_next(s->client)) != NULL) {
        if (n->type == ENSIGN_NOTICE_ACK) {
            if (n->as.ack.tag != s->done)
                die("ack of event %" PRIu64 " where %" PRIu64 " was due", n->as.ack.tag, s->done);
            count(s);
        } else if (n->type == ENSIGN_NOTICE_NACK || n->type == ENSIGN_NOTICE_WAITING ||
                   n->type == ENSIGN_NOTICE_DISCONNECTED || n->last) {
            die("publisher: %s", n->error ? n->error->text : "ended");
        }
    }
}

static void take_events(side_t *s, ensign_subscription_t sub)
{
    const ensign_notice_t *n;

    while ((n = ensign_next(s->client)) != NULL) {
        if (n->type == ENSIGN_NOTICE_EVENT) {
            const ensign_event_t *e = n->as.event;
            if (event_number(e->data) != s->done || e->data.len != bytes)
                die("event %" PRIu64 " of %zu bytes where %" PRIu64 " of %zu was due", event_number(e->data),
                    e->data.len, s->done, bytes);
            if (ensign_ack(s->client, sub, e->token) != ENSIGN_OK)
                die("ack: %s", ensign_error(s->client)->text);
            count(s);
        } else if (n->type == ENSIGN_NOTICE_GAP || n->type == ENSIGN_NOTICE_WAITING ||
                   n->type == ENSIGN_NOTICE_DISCONNECTED || n->last) {
            die("subscription: %s", n->error ? n->error->text : "a gap, or its end");
        }
    }
}

static void judge(const side_t *s, const char *what)
{
    ensign_stats_t stats;
    uint64_t calls = s->heap.calls - s->steady_calls;

    if (ensign_stats(s->client, ENSIGN_CLIENT, &stats) != ENSIGN_OK)
        die("stats: %s", ensign_error(s->client)->text);
    result(s->done == total, "%s: %" PRIu64 " of %" PRIu64 " events, each once and in order", what, s->done,
           total);
    result(calls == 0, "%s: %" PRIu64 " calls of the alloc hook in steady state, %" PRIu64 " before", what,
           calls, s->steady_calls);
    result(stats.allocations == s->heap.calls, "%s: stats.allocations %" PRIu64 ", the hook counted %" PRIu64,
           what, stats.allocations, s->heap.calls);
    result(stats.memory <= s->bound && s->heap.peak <= s->bound,
           "%s: stats.memory %zu and the heap's peak %zu, bound %zu bytes", what, stats.memory, s->heap.peak,
           s->bound);
}

static void run(bool publishing, bool receiving, const char *topic)
{
    static side_t out, in;
    ensign_publisher_t p = { 0 };
    ensign_subscription_t sub = { 0 };
    ensign_t *clients[CLIENTS_MAX];
    size_t used = 0;
    uint64_t next = 0, seen = 0, since, begin;

    if (receiving) sub = open_subscription(&in, topic);
    if (publishing) p = open_publisher(&out, topic);
    if (receiving) clients[used++] = in.client;
    if (publishing) clients[used++] = out.client;
    since = begin = ensign_now_ms();
    while ((publishing && out.done < total) || (receiving && in.done < total)) {
        if (publishing) publish_some(&out, p, &next, receiving ? in.done + AHEAD : due(begin, per_second));
        turn(clients, used, per_second ? PACED_MS : TURN_MS);
        if (publishing) take_acks(&out);
        if (receiving) take_events(&in, sub);
        if (out.done + in.done != seen) since = ensign_now_ms();
        else if (ensign_now_ms() - since > STALL_MS)
            die("nothing came for %d ms: %" PRIu64 " acked, %" PRIu64 " received", STALL_MS, out.done,
                in.done);
        seen = out.done + in.done;
    }
    printf("# %s: %.0f ns of CPU an event in this process, first tenth left out\n",
           !receiving ? "publisher" : publishing ? "publisher and subscriber" : "subscriber",
           1e9 * (cpu_seconds() - (publishing ? out.steady_cpu : in.steady_cpu)) / (0.9 * (double)total));
    if (publishing) judge(&out, "publisher");
    if (receiving) judge(&in, "subscriber");
    for (size_t i = 0; i < used; i++) ensign_destroy(clients[i]);
    if (publishing) result(out.heap.live == 0, "publisher: %zu bytes are left after destroy", out.heap.live);
    if (receiving) result(in.heap.live == 0, "subscriber: %zu bytes are left after destroy", in.heap.live);
}

int main(int argc, char **argv)
{
    const char *mode = argc >= 5 && argc <= 6 ? argv[1] : "";
    bool publishing = strcmp(mode, "publish") == 0 || strcmp(mode, "both") == 0;
    bool receiving = strcmp(mode, "receive") == 0 || strcmp(mode, "both") == 0;

    if (argc >= 5) {
        per_second = argc == 6 ? strtoull(argv[5], NULL, 10) : 0;
        total = strtoull(argv[3], NULL, 10);
        bytes = (size_t)strtoull(argv[4], NULL, 10);
    }
    if ((!publishing && !receiving) || total < 100 || bytes < 10 || bytes > BYTES_MAX) {
        fprintf(stderr, "million publish|receive|both TOPIC COUNT BYTES [EVENTS_A_SECOND]\n"
                        "COUNT from 100, BYTES 10 to %d\n", BYTES_MAX);
        return 2;
    }
    run(publishing, receiving, argv[2]);
    return failures ? 1 : 0;
}
