/* memory.c - ensign.h against the bench's server in memory: no sockets and no clock, so that each run is the
 * same, instruction by instruction
 *
 *   memory publish|receive|single EVENTS BYTES
 *   memory idle HANDLES TURNS
 *
 * The modes are those of client.c. Every call of ensign.h stands in a function of its own whose name begins
 * with counted_: `valgrind --tool=callgrind --toggle-collect='counted_*'` counts what is under them, and not
 * the server or the copies in between. Prints the calls of the allocator, those after the first tenth of the
 * events, and the bytes that are held at the end. */
#define ENSIGN_IMPLEMENTATION
#define ENSIGN_NO_SOCKETS
#include "ensign.h"
#include "sink.h"

#include <inttypes.h>

enum {
    WINDOW = 64 << 10,              /* bytes of the server's that are under way at a time */
    BYTES = 100                     /* of an event's data, where no argument says it */
};

static ensign_t *client;
static sink_t sink;
static uint64_t now_ms = 1, opens, done;

static void die(const char *text)
{
    fprintf(stderr, "memory: %s: %s\n", text, client ? ensign_error(client)->text : "");
    exit(1);
}

/* ------------------------------------------------------------------ what is counted */
#define COUNTED __attribute__((noinline))

COUNTED static int counted_publish(ensign_publisher_t p, const ensign_event_t *e)
{
    return ensign_publish(client, p, e);
}

COUNTED static const ensign_notice_t *counted_next(void)
{
    return ensign_next(client);
}

COUNTED static int counted_ack(ensign_subscription_t s, uint64_t token)
{
    return ensign_ack(client, s, token);
}

COUNTED static int counted_turn(void)
{
    (void)ensign_timeout(client, now_ms);
    return ensign_tick(client, now_ms);
}

COUNTED static uint8_t *counted_rx_buf(size_t *cap)
{
    return ensign_rx_buf(client, ENSIGN_LINK_RPC, cap);
}

COUNTED static int counted_rx_ack(size_t len)
{
    return ensign_rx_ack(client, ENSIGN_LINK_RPC, len, now_ms);
}

COUNTED static const uint8_t *counted_tx_buf(size_t *len)
{
    return ensign_tx_buf(client, ENSIGN_LINK_RPC, len);
}

COUNTED static int counted_tx_ack(size_t len)
{
    return ensign_tx_ack(client, ENSIGN_LINK_RPC, len);
}

/* ------------------------------------------------------------------ bytes */
static void move_out(void)
{
    const uint8_t *p;
    size_t n;

    while ((p = counted_tx_buf(&n)) != NULL && n > 0) {
        sink_add(&sink.in, p, n);
        if (counted_tx_ack(n) != ENSIGN_OK) die("tx");
    }
    sink_take(&sink);
}

static void move_in(void)
{
    sink_bytes_t *out = &sink.out;

    sink_fill(&sink, WINDOW);
    while (sink_left(out) > 0) {
        size_t n = 0;
        uint8_t *p = counted_rx_buf(&n);
        if (!p || n == 0) return;
        if (n > sink_left(out)) n = sink_left(out);
        memcpy(p, out->p + out->at, n);
        out->at += n;
        if (counted_rx_ack(n) != ENSIGN_OK) die("rx");
    }
}

/* A turn of the loop: what the client has for the server, then what the server has for it. */
static void turn(void)
{
    if (counted_turn() != ENSIGN_OK) die("tick");
    move_out();
    move_in();
}

/* ------------------------------------------------------------------ the client */
static int64_t wall(void *user)
{
    (void)user;
    return 1767225600000;
}

static int no_random(void *user, void *out, size_t len)
{
    (void)user;
    memset(out, 7, len);
    return 0;
}

static void open_client(uint32_t max_handles)
{
    ensign_desc_t d;
    ensign_error_t why;

    memset(&d, 0, sizeof d);
    d.endpoint = "127.0.0.1:1";
    d.token = d.name = "bench";
    d.tls.off = true;
    d.io = ENSIGN_IO_CALLER;
    d.max_handles = max_handles;
    d.wall_ms = wall;
    d.random = no_random;
    if (ensign_create(&d, &client, &why) != ENSIGN_OK) die(why.text);
}

static ensign_publisher_t open_publisher(void)
{
    ensign_publisher_desc_t d;
    ensign_publisher_t p;

    memset(&d, 0, sizeof d);
    d.topic = "bench";
    p = ensign_publisher_open(client, &d);
    if (p.id == 0) die("publisher");
    return p;
}

static ensign_subscription_t open_subscription(void)
{
    static const char *topic = "bench";
    ensign_subscription_desc_t d;
    ensign_subscription_t s;

    memset(&d, 0, sizeof d);
    d.topics = &topic;
    d.topic_count = 1;
    s = ensign_subscription_open(client, &d);
    if (s.id == 0) die("subscription");
    return s;
}

/* The link is dialled when a handle wants it. */
static void dial(void)
{
    ensign_link_t link;

    (void)ensign_tick(client, now_ms);
    ensign_link(client, ENSIGN_LINK_RPC, &link);
    if (link.todo != ENSIGN_LINK_DIAL) die("no dial");
    if (ensign_link_up(client, ENSIGN_LINK_RPC, link.attempt, 0, now_ms) != ENSIGN_OK) die("up");
}

/* ------------------------------------------------------------------ events */
static uint64_t warm_calls, total;

static uint64_t alloc_calls(void)
{
    ensign_stats_t stats;
    ensign_stats(client, ENSIGN_CLIENT, &stats);
    return stats.allocations;
}

/* Pulls all that is there, and acks what is an event. */
static void pull(size_t bytes)
{
    const ensign_notice_t *n;

    while ((n = counted_next()) != NULL) {
        ensign_subscription_t s = { n->handle };
        if (n->error || n->last) die(ensign_notice_name(n->type));
        opens += n->type == ENSIGN_NOTICE_OPEN;
        if (n->type == ENSIGN_NOTICE_EVENT &&
            (n->as.event->data.len != bytes || counted_ack(s, n->as.event->token) != ENSIGN_OK))
            die("event");
        if (n->type != ENSIGN_NOTICE_ACK && n->type != ENSIGN_NOTICE_EVENT) continue;
        if (++done == total / 10) warm_calls = alloc_calls();
    }
}

static void run_publish(size_t bytes, bool single)
{
    ensign_publisher_t p = open_publisher();
    uint8_t *data = (uint8_t *)calloc(1, bytes + 1);
    ensign_event_t e;

    if (!data) die("memory");
    memset(&e, 0, sizeof e);
    e.data.ptr = data;
    e.data.len = bytes;
    e.mimetype = ENSIGN_MIME_APPLICATION_JSON;
    if (ensign_type_parse("BenchEvent", "1.2.3", &e.type) != ENSIGN_OK) die("type");
    for (dial(); opens < 1; pull(0)) turn();
    while (done < total) {
        while (e.tag < total && !(single && e.tag > done)) {
            int rc = counted_publish(p, &e);
            if (rc < 0) die("publish");
            if (rc == ENSIGN_AGAIN) break;
            e.tag++;
        }
        turn();
        pull(0);
        now_ms++;
    }
    free(data);
}

static void run_receive(size_t bytes)
{
    (void)open_subscription();
    for (dial(); done <= total; now_ms++) { /* the one behind them says that all acks have arrived */
        turn();
        pull(bytes);
    }
}

/* Publishers and subscriptions in turn; each of these gets the event behind the 0 that the server has. */
static void run_idle(uint64_t handles, uint64_t turns)
{
    for (uint64_t i = 0; i < handles; i++) {
        if (i % 2 == 0) (void)open_publisher();
        else (void)open_subscription();
    }
    for (dial(); opens < handles || done < handles / 2; pull(BYTES)) turn();
    turn();
    for (uint64_t i = 0; i < turns; i++)
        if (counted_turn() != ENSIGN_OK) die("tick");
}

int main(int argc, char **argv)
{
    uint64_t second = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
    ensign_stats_t stats;

    total = argc == 4 ? strtoull(argv[2], NULL, 10) : 0;
    if (total == 0) return fprintf(stderr, "usage: see the head of memory.c\n"), 2;
    if (strcmp(argv[1], "idle") == 0) {
        sink_begin(&sink, 0, BYTES);
        open_client((uint32_t)total);
        run_idle(total, second);
    } else {
        sink_begin(&sink, total, second);
        open_client(0);
        if (strcmp(argv[1], "receive") == 0) run_receive(second);
        else run_publish(second, strcmp(argv[1], "single") == 0);
    }
    ensign_stats(client, ENSIGN_CLIENT, &stats);
    printf("allocations %" PRIu64 ", in steady state %" PRIu64 ", memory %zu\n", stats.allocations,
           warm_calls ? stats.allocations - warm_calls : 0, stats.memory);
    ensign_destroy(client);
    sink_end(&sink);
    return 0;
}
