/* clients.c - what a client takes after its first events
 *
 *   clients COUNT EVENTS [publish|receive|both]
 *
 * Opens COUNT clients one after the other, each with a publisher, or a subscription, or both [both], against
 * the service that the ENSIGN_ variables tell. Each publishes EVENTS events, which are acked, and receives and
 * acks as many; a client that only receives gets those of one more client, which also makes the topics. Then
 * it stays open and idle. For 1, 10, 100... and COUNT clients a line says
 *
 *   clients N: R KB of memory, H KB by the alloc hook, P KB at its peak, C calls of it; each of one client
 *
 * R is the growth of the resident set, which has what mbedTLS, libc and the pages' edges take. Linux alone. */
#define ENSIGN_IMPLEMENTATION
#include "ensign.h"

#include "../heap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 100, TOPICS = 50, STALL_MS = 60000 };

static heap_t heap;                 /* of all clients */
static bool publishes = true, receives = true;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "clients: %s: %s\n", what, why);
    exit(1);
}

static size_t resident_kb(void)
{
    unsigned long kb = 0;
    char line[200];
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmRSS: %lu", &kb) == 1) break;
    if (f) fclose(f);
    return (size_t)kb;
}

static ensign_t *open_client(heap_t *h)
{
    ensign_desc_t d;
    ensign_error_t why;
    ensign_t *c;
    memset(&d, 0, sizeof d);
    d.alloc = heap_realloc;
    d.user = h;
    if (ensign_desc_env(&d, &why) != ENSIGN_OK) die("environment", why.text);
    if (ensign_create(&d, &c, &why) != ENSIGN_OK) die("client", why.text);
    return c;
}

static ensign_publisher_t open_publisher(ensign_t *c, const char *topic)
{
    ensign_publisher_desc_t d;
    ensign_publisher_t p;
    memset(&d, 0, sizeof d);
    d.topic = topic;
    p = ensign_publisher_open(c, &d);
    if (p.id == 0) die("publisher", ensign_error(c)->text);
    return p;
}

static ensign_subscription_t open_subscription(ensign_t *c, const char *topic)
{
    ensign_subscription_desc_t d;
    ensign_subscription_t s;
    memset(&d, 0, sizeof d);
    d.topics = &topic;
    d.topic_count = 1;
    s = ensign_subscription_open(c, &d);
    if (s.id == 0) die("subscription", ensign_error(c)->text);
    return s;
}

/* The next notice of a handle. */
static const ensign_notice_t *expect(ensign_t *c, uint32_t handle, ensign_notice_type_t type)
{
    const ensign_notice_t *n;
    do {
        if (ensign_await(c, handle, STALL_MS, &n) != ENSIGN_OK)
            die(ensign_notice_name(type), ensign_error(c)->text);
    } while (n->type == ENSIGN_NOTICE_OPEN && n->type != type);
    if (n->type != type)
        die(ensign_notice_name(n->type), n->error ? n->error->text : "was not expected");
    return n;
}

static void publish(ensign_t *c, ensign_publisher_t p, size_t events)
{
    static uint8_t data[BYTES];
    ensign_event_t e;
    memset(&e, 0, sizeof e);
    e.data = ensign_bytes(data, sizeof data);
    for (size_t i = 0; i < events; i++)
        if (ensign_publish(c, p, &e) != ENSIGN_OK) die("publish", ensign_error(c)->text);
    for (size_t i = 0; i < events; i++) expect(c, p.id, ENSIGN_NOTICE_ACK);
}

static void receive(ensign_t *c, ensign_subscription_t s, size_t events)
{
    for (size_t i = 0; i < events; i++) {
        const ensign_notice_t *n = expect(c, s.id, ENSIGN_NOTICE_EVENT);
        if (ensign_ack(c, s, n->as.event->token) != ENSIGN_OK) die("ack", ensign_error(c)->text);
    }
    ensign_wait(c, NULL, 0, 0); /* the acks go out */
}

static const char *topic_of(size_t number)
{
    static char topic[32];
    snprintf(topic, sizeof topic, "clients-%zu", number % TOPICS);
    return topic;
}

/* The client that is not measured: it makes the topics, and has had its first event. */
static ensign_t *open_feed(void)
{
    static heap_t others;
    ensign_t *c = open_client(&others);
    for (size_t i = 0; i < TOPICS; i++)
        expect(c, ensign_topic_ensure(c, topic_of(i), NULL).id, ENSIGN_NOTICE_TOPIC);
    publish(c, open_publisher(c, topic_of(0)), 1);
    return c;
}

/* A client that does what there is to do, and stays. `feed` publishes what it only receives. */
static void live(size_t number, size_t events, ensign_t *feed)
{
    const char *topic = topic_of(number);
    ensign_t *c = open_client(&heap);
    ensign_subscription_t s = { 0 };
    ensign_publisher_t p;
    if (receives) {
        s = open_subscription(c, topic);
        expect(c, s.id, ENSIGN_NOTICE_OPEN);
    }
    p = open_publisher(publishes ? c : feed, topic);
    publish(publishes ? c : feed, p, events);
    if (receives) receive(c, s, events);
    if (!publishes) ensign_forget(feed, p.id);
}

int main(int argc, char **argv)
{
    size_t count = argc > 2 ? strtoul(argv[1], NULL, 10) : 0, next = 1, before;
    size_t events = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    const char *what = argc > 3 ? argv[3] : "both";
    ensign_t *feed;

    publishes = strcmp(what, "receive") != 0;
    receives = strcmp(what, "publish") != 0;
    if (count == 0 || events == 0 || (publishes && receives && strcmp(what, "both") != 0)) {
        fprintf(stderr, "usage: clients COUNT EVENTS [publish|receive|both]\n");
        return 2;
    }
    feed = open_feed();
    before = resident_kb();
    for (size_t i = 1; i <= count; i++) {
        live(i, events, feed);
        if (i != next && i != count) continue;
        printf("clients %zu: %.1f KB of memory, %.1f KB by the alloc hook, %.1f KB at its peak, %.1f calls\n",
               i, (double)(resident_kb() - before) / (double)i, (double)heap.live / 1024 / (double)i,
               (double)heap.peak / 1024 / (double)i, (double)heap.calls / (double)i);
        fflush(stdout);
        next *= 10;
    }
    return 0;
}
