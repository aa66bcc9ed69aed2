/* server.c - the load that tools/bench_server puts on a server, by ensign.h
 *
 *   server live NAME=VALUE...          events are published, and come to subscribers
 *   server catchup NAME=VALUE...       a subscriber begins at the first of so many stored events, and ends at
 *                                      the last one; with times=N, so often at the first one
 *   server query SQL NAME=VALUE...     a query is asked, and its rows are read
 *   server topics NAME=VALUE...        topics are made
 *
 *   topic=NAME             [bench]; with topics=N: NAME-0, NAME-1, ...
 *   topics=N               each of the N in turn takes an event [1]
 *   events=N bytes=N       of that many bytes, 32 or more [1000, 100]
 *   subscribers=N          each is a client of its own, with a connection of its own [0]
 *   group=1                they are members of one group, and each event goes to one of them [0]
 *   rate=N                 events a second [0: as fast as they are taken]
 *   ahead=N                without a rate: events that are published before the subscribers have taken them
 *                          [8192]
 *   times=N                that a query or a catch-up is repeated [1]
 *   pid=N                  of the server, to read its CPU time and its resident set [0: not read]
 *
 * The service is told by the ENSIGN_ variables. The figures count events: without subscribers those that are
 * acked, else those that a subscriber has got; of a catch-up those that it gives; of a query how often it is
 * asked. The latency of an event is the time from its publish; of a catch-up from opening the subscription;
 * of a query from asking to its end.
 * Prints two lines of JSON. The first: seconds, of all of it; server_us, CPU time of the server an event;
 * server_kb, its resident set before the clients go; found, the rows of a query. For the second see
 * measure.h. */
#define CLIENTS_MAX 2001
#include "../soak/soak.h"
#include "measure.h"

#include <sys/resource.h>
#include <unistd.h>

enum {
    PUBLISHER = 0,              /* of the clients */
    BYTES_MIN = 32,
    BYTES_MAX = 65536,
    NAME_BYTES = 64,
    TOPICS_AT_ONCE = 64,        /* requests */
    PACED_TURN_MS = 1
};

typedef struct load_t {
    const char *topic;
    uint64_t topics, events, bytes, subscribers, group, rate, ahead, times, pid;
} load_t;

static load_t load = { "bench", 1, 1000, 100, 0, 0, 0, 8192, 1, 0 };
static ensign_t *clients[CLIENTS_MAX];      /* PUBLISHER, then the subscribers */
static ensign_subscription_t subscriptions[CLIENTS_MAX];
static uint64_t *sent_at;                   /* ns, of each event */
static double server_at;                    /* us of CPU that the server had used when measuring began */
static measure_t m;

/* ------------------------------------------------------------------ the server's process */
static double server_cpu(void) /* us */
{
    struct timespec t = { 0, 0 };
    clockid_t id;

    if (load.pid && clock_getcpuclockid((pid_t)load.pid, &id) == 0) (void)clock_gettime(id, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

static uint64_t server_kb(void)
{
    uint64_t pages = 0;
    char path[64];
    FILE *f;

    snprintf(path, sizeof path, "/proc/%" PRIu64 "/statm", load.pid);
    if (!load.pid || (f = fopen(path, "r")) == NULL) return 0;
    if (fscanf(f, "%*u %" SCNu64, &pages) != 1) pages = 0;
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
}

/* ------------------------------------------------------------------ measuring */
/* From the first event on: what the clients warm up is little beside the server's work. */
static void begin(uint64_t total)
{
    measure_begin(&m, total, true);
    m.warm = 0;
    server_at = server_cpu();
}

static void done(uint64_t since_ns)
{
    if (m.done >= m.total) die("more events than the %" PRIu64 " that were due", m.total);
    m.sent[m.done] = since_ns;
    measure_done(&m);
}

static void print(uint64_t found)
{
    printf("{\"seconds\": %.6f, \"server_us\": %.3f, \"server_kb\": %" PRIu64 ", \"found\": %" PRIu64 "}\n",
           1e-9 * (double)(measure_clock() - m.clock), (server_cpu() - server_at) / (double)m.total,
           server_kb(), found);
    measure_print(&m);
}

/* ------------------------------------------------------------------ clients and events */
static void add_client(size_t at)
{
    ensign_desc_t d;

    memset(&d, 0, sizeof d);
    clients[at] = client_open(&d);
}

static ensign_publisher_t open_publisher(void)
{
    ensign_publisher_desc_t d;
    ensign_publisher_t p;

    memset(&d, 0, sizeof d);
    d.topic = load.topics == 1 ? load.topic : NULL;
    p = ensign_publisher_open(clients[PUBLISHER], &d);
    if (p.id == 0) die("publisher: %s", ensign_error(clients[PUBLISHER])->text);
    return p;
}

/* All topics of the project, where there are several. */
static void open_subscription(size_t at, uint64_t from)
{
    ensign_subscription_desc_t d;

    memset(&d, 0, sizeof d);
    d.from = from;
    d.topics = load.topics == 1 ? &load.topic : NULL;
    d.topic_count = load.topics == 1;
    d.group = load.group ? load.topic : NULL;
    subscriptions[at] = ensign_subscription_open(clients[at], &d);
    if (subscriptions[at].id == 0) die("subscription: %s", ensign_error(clients[at])->text);
}

static void topic_name(char out[NAME_BYTES], uint64_t number)
{
    snprintf(out, NAME_BYTES, "%.32s-%" PRIu64, load.topic, number);
}

/* JSON, whose first field is the number, so that WHERE can find one event. */
static void fill(char data[BYTES_MAX], uint64_t number)
{
    memset(data, 'x', (size_t)load.bytes);
    data[snprintf(data, BYTES_MIN, "{\"n\":%10" PRIu64 ",\"pad\":\"", number)] = 'x';
    memcpy(data + load.bytes - 2, "\"}", 2);
}

static uint64_t number_of(const ensign_event_t *e)
{
    char text[11] = "";

    if (e->data.len != load.bytes) die("an event of %zu bytes", e->data.len);
    memcpy(text, e->data.ptr + 5, 10);
    return strtoull(text, NULL, 10);
}

/* What no run of the bench should meet. A server that was too slow for its subscriber gives a GAP. */
static void unexpected(const ensign_notice_t *n)
{
    if (n->last || n->type == ENSIGN_NOTICE_GAP || n->type == ENSIGN_NOTICE_NACK ||
        n->type == ENSIGN_NOTICE_DISCONNECTED)
        die("%s: %s", ensign_notice_name(n->type), n->error ? n->error->text : "");
}

/* ------------------------------------------------------------------ live */
static void publish_some(ensign_publisher_t p, uint64_t *next, uint64_t limit)
{
    static char data[BYTES_MAX];
    char name[NAME_BYTES];
    ensign_event_t e;
    int rc = ENSIGN_OK;

    memset(&e, 0, sizeof e);
    e.data.ptr = (const uint8_t *)data;
    e.data.len = (size_t)load.bytes;
    e.mimetype = ENSIGN_MIME_APPLICATION_JSON;
    while (*next < load.events && *next < limit && rc == ENSIGN_OK) {
        fill(data, *next);
        if (load.topics > 1) {
            topic_name(name, *next % load.topics);
            e.topic = name;
        }
        e.tag = *next;
        sent_at[*next] = measure_clock();
        rc = ensign_publish(clients[PUBLISHER], p, &e);
        if (rc < 0) die("publish: %s", ensign_error(clients[PUBLISHER])->text);
        *next += rc == ENSIGN_OK;
    }
}

static void take(size_t at)
{
    const ensign_notice_t *n;

    while ((n = ensign_next(clients[at])) != NULL) {
        unexpected(n);
        if (n->type == ENSIGN_NOTICE_ACK && load.subscribers == 0) done(sent_at[n->as.ack.tag]);
        if (n->type != ENSIGN_NOTICE_EVENT) continue;
        done(sent_at[number_of(n->as.event)]);
        if (ensign_ack(clients[at], subscriptions[at], n->as.event->token) != ENSIGN_OK)
            die("ack: %s", ensign_error(clients[at])->text);
    }
}

static uint64_t open_count(size_t count)
{
    const ensign_notice_t *n;
    uint64_t opens = 0;

    for (size_t i = 0; i < count; i++)
        while ((n = ensign_next(clients[i])) != NULL) {
            if (n->type != ENSIGN_NOTICE_DISCONNECTED) unexpected(n); /* so many at once: it tries again */
            opens += n->type == ENSIGN_NOTICE_OPEN;
        }
    return opens;
}

static void await_opens(size_t count, uint64_t wanted)
{
    while ((wanted -= open_count(count)) > 0) turn(clients, count, TURN_MS);
}

static void run_live(void)
{
    size_t count = 1 + (size_t)load.subscribers;
    uint64_t copies = load.group || !load.subscribers ? 1 : load.subscribers, next = 0, start;
    ensign_publisher_t p;

    sent_at = (uint64_t *)calloc((size_t)load.events, sizeof *sent_at);
    if (!sent_at) die("no memory for %" PRIu64 " events", load.events);
    for (size_t i = 0; i < count; i++) add_client(i);
    if (load.topics == 1) topic_ensure(clients[PUBLISHER], load.topic);
    p = open_publisher();
    for (size_t i = 1; i < count; i++) open_subscription(i, ENSIGN_FROM_LIVE);
    await_opens(count, count);
    begin(load.events * copies);
    for (start = ensign_now_ms(); m.done < m.total;) {
        uint64_t ahead = load.subscribers ? m.done / copies + load.ahead : UINT64_MAX;
        publish_some(p, &next, load.rate ? due(start, load.rate) : ahead);
        turn(clients, count, load.rate ? PACED_TURN_MS : TURN_MS);
        for (size_t i = 0; i < count; i++) take(i);
    }
    print(0);
    for (size_t i = 0; i < count; i++) ensign_destroy(clients[i]);
    free(sent_at);
}

/* ------------------------------------------------------------------ catch-up */
/* The stored events from the first one on; 0: until the first one is there. */
static void catch_up_once(uint64_t events)
{
    const ensign_notice_t *n;
    uint64_t since = measure_clock(), got = 0;

    open_subscription(PUBLISHER, ENSIGN_FROM_START);
    while (got < (events ? events : 1)) {
        if (ensign_await(clients[PUBLISHER], subscriptions[PUBLISHER].id, -1, &n) != ENSIGN_OK)
            die("catch-up: %s", ensign_error(clients[PUBLISHER])->text);
        unexpected(n);
        if (n->type != ENSIGN_NOTICE_EVENT) continue;
        got++;
        if (m.total) done(since);
    }
    (void)ensign_forget(clients[PUBLISHER], subscriptions[PUBLISHER].id);
}

/* Once until its last event; with times=N so often until its first one. */
static void run_catchup(void)
{
    uint64_t whole = load.times > 1 ? 0 : load.events;

    add_client(PUBLISHER);
    catch_up_once(0); /* it logs in, and connects */
    begin(whole ? whole : load.times);
    while (m.done < m.total) catch_up_once(whole);
    print(0);
    ensign_destroy(clients[PUBLISHER]);
}

/* ------------------------------------------------------------------ query */
static uint64_t query_once(const char *sql)
{
    const ensign_notice_t *n = NULL;
    ensign_query_desc_t d;
    ensign_query_t q;
    uint64_t rows = 0;

    memset(&d, 0, sizeof d);
    d.sql = sql;
    q = ensign_query_open(clients[PUBLISHER], &d);
    if (q.id == 0) die("query: %s", ensign_error(clients[PUBLISHER])->text);
    do {
        if (ensign_await(clients[PUBLISHER], q.id, -1, &n) != ENSIGN_OK)
            die("query: %s", ensign_error(clients[PUBLISHER])->text);
        if (n->error) die("query: %s", n->error->text);
        rows += n->type == ENSIGN_NOTICE_EVENT;
    } while (!n->last);
    return rows;
}

static void run_query(const char *sql)
{
    uint64_t rows = 0;

    add_client(PUBLISHER);
    (void)query_once(sql); /* it logs in, and connects */
    begin(load.times);
    while (m.done < load.times) {
        uint64_t since = measure_clock();
        rows += query_once(sql);
        done(since);
    }
    print(rows);
    ensign_destroy(clients[PUBLISHER]);
}

/* ------------------------------------------------------------------ topics */
/* So many requests at once as one connection may have streams. */
static void run_topics(void)
{
    const ensign_notice_t *n;
    uint64_t asked = 0;
    char name[NAME_BYTES];

    add_client(PUBLISHER);
    sent_at = (uint64_t *)calloc((size_t)load.topics, sizeof *sent_at);
    if (!sent_at) die("no memory for %" PRIu64 " topics", load.topics);
    begin(load.topics);
    while (m.done < load.topics) {
        for (; asked < load.topics && asked < m.done + TOPICS_AT_ONCE; asked++) {
            topic_name(name, asked);
            sent_at[asked] = measure_clock();
            if (ensign_topic_create(clients[PUBLISHER], name, NULL, &sent_at[asked]).id == 0)
                die("topic: %s", ensign_error(clients[PUBLISHER])->text);
        }
        turn(clients, 1, TURN_MS);
        while ((n = ensign_next(clients[PUBLISHER])) != NULL) {
            if (n->error) die("topic: %s", n->error->text);
            if (n->type == ENSIGN_NOTICE_TOPIC) done(*(const uint64_t *)n->user);
        }
    }
    print(0);
    ensign_destroy(clients[PUBLISHER]);
    free(sent_at);
}

/* ------------------------------------------------------------------ what is asked for */
static bool read_word(char *word)
{
    static const struct { const char *name; uint64_t *at, least, most; } known[] = {
        { "topics", &load.topics, 1, 1000000 },
        { "events", &load.events, 1, 1000000000 },
        { "bytes", &load.bytes, BYTES_MIN, BYTES_MAX },
        { "subscribers", &load.subscribers, 0, CLIENTS_MAX - 1 },
        { "group", &load.group, 0, 1 },
        { "rate", &load.rate, 0, 1000000 },
        { "ahead", &load.ahead, 1, 1000000 },
        { "times", &load.times, 1, 1000000 },
        { "pid", &load.pid, 0, INT32_MAX },
    };
    char *value = strchr(word, '='), *end;

    if (!value) return false;
    *value++ = '\0';
    if (strcmp(word, "topic") == 0) return (load.topic = value)[0] != '\0';
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        uint64_t number = strtoull(value, &end, 10);
        if (strcmp(word, known[i].name) != 0) continue;
        *known[i].at = number;
        return *value && !*end && number >= known[i].least && number <= known[i].most;
    }
    return false;
}

/* A connection takes a descriptor. */
static void raise_limit(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) != 0) return;
    r.rlim_cur = r.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &r);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    int first = strcmp(mode, "query") == 0 ? 3 : 2;

    for (int i = first; i < argc; i++)
        if (!read_word(argv[i])) return fprintf(stderr, "server: %s: see the head of server.c\n", argv[i]), 2;
    raise_limit();
    if (strcmp(mode, "live") == 0) run_live();
    else if (strcmp(mode, "catchup") == 0) run_catchup();
    else if (strcmp(mode, "topics") == 0) run_topics();
    else if (first == 3 && argc > 2) run_query(argv[2]);
    else return fprintf(stderr, "usage: see the head of server.c\n"), 2;
    return 0;
}
