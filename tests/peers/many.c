/* many.c - many unary calls, one after the other, and a publisher beside them
 *
 *   many CALLS TOPIC EVENTS
 *
 * The ENSIGN_ variables name the server, which may end each connection after 20 requests or more: with a call
 * each 6 ms, no connection is then shorter than backoff_min_ms, which would be taken for a failure of the
 * server. Each call must be OK, each event must get one ACK. Prints "CALLS calls OK, EVENTS events stored, N
 * connections, M GOAWAY"; what failed is told, and the exit status is 1.
 */
#define ENSIGN_IMPLEMENTATION
#include "ensign.h"

#include <stdio.h>
#include <stdlib.h>

enum { WAIT_MS = 30000, EACH_MS = 6 };

typedef struct {
    ensign_t *c;
    ensign_publisher_t pub;
    ensign_call_t call;
    uint64_t next_ms;           /* when the next call is due */
    unsigned long calls, ok, events, published, acked, connections, goaways;
    bool failed;
    unsigned char *acks;        /* of each event */
} run_t;

static void open_call(run_t *r)
{
    ensign_call_desc_t d = { .method = "/grpc.health.v1.Health/Check", .unary = true,
                             .deadline_ms = WAIT_MS };

    r->next_ms = ensign_now_ms() + EACH_MS;
    r->call = ensign_call_open(r->c, &d);
    if (r->call.id != 0) return;
    fprintf(stderr, "many: call: %s\n", ensign_error(r->c)->text);
    r->failed = true;
}

/* As large a part of the events as of the calls is through. */
static void publish_some(run_t *r)
{
    while (r->published < r->events && r->published * r->calls <= r->ok * r->events) {
        ensign_event_t e = { .data = ensign_str("event"), .tag = r->published };
        int rc = ensign_publish(r->c, r->pub, &e);
        if (rc == ENSIGN_AGAIN) return;
        if (rc != ENSIGN_OK) {
            fprintf(stderr, "many: publish: %s\n", ensign_error(r->c)->text);
            r->failed = true;
            return;
        }
        r->published++;
    }
}

static void take(run_t *r, const ensign_notice_t *n)
{
    bool bad = n->type == ENSIGN_NOTICE_FAILED || n->type == ENSIGN_NOTICE_NACK ||
               n->type == ENSIGN_NOTICE_END ||
               (n->type == ENSIGN_NOTICE_REPLY && n->as.reply.status != ENSIGN_GRPC_OK);

    r->connections += n->type == ENSIGN_NOTICE_CONNECTED;
    r->goaways += n->type == ENSIGN_NOTICE_GOAWAY;
    if (n->type == ENSIGN_NOTICE_ACK) {
        r->acked++;
        if (r->acks[n->as.ack.tag]++) fprintf(stderr, "many: a second ACK\n"), bad = true;
    }
    if (n->type == ENSIGN_NOTICE_REPLY) {
        r->call.id = 0;
        r->ok += !bad;
    }
    if (!bad) return;
    fprintf(stderr, "many: %s: %s\n", ensign_notice_name(n->type), n->error ? n->error->text : "no error");
    r->failed = true;
}

static void go(run_t *r)
{
    const ensign_notice_t *n;
    uint64_t last = ensign_now_ms();

    while (!r->failed && (r->ok < r->calls || r->acked < r->events)) {
        if (r->ok < r->calls && r->call.id == 0 && r->next_ms <= ensign_now_ms()) open_call(r);
        publish_some(r);
        if (ensign_wait(r->c, NULL, 0, r->ok < r->calls ? EACH_MS : 1000) < 0) {
            fprintf(stderr, "many: %s\n", ensign_error(r->c)->text);
            return;
        }
        while ((n = ensign_next(r->c)) != NULL) {
            take(r, n);
            last = ensign_now_ms();
        }
        if (ensign_now_ms() - last < WAIT_MS) continue;
        fprintf(stderr, "many: nothing came for %d s\n", WAIT_MS / 1000);
        return;
    }
}

int main(int argc, char **argv)
{
    static run_t r;
    ensign_desc_t d = { 0 };
    ensign_publisher_desc_t p = { .ensure_topic = true };
    ensign_error_t why;

    if (argc != 4) {
        fprintf(stderr, "usage: many CALLS TOPIC EVENTS\n");
        return 2;
    }
    r.calls = strtoul(argv[1], NULL, 10);
    p.topic = argv[2];
    r.events = strtoul(argv[3], NULL, 10);
    r.acks = (unsigned char *)calloc(r.events + 1, 1);
    if (!r.acks || ensign_desc_env(&d, &why) != ENSIGN_OK || ensign_create(&d, &r.c, &why) != ENSIGN_OK) {
        fprintf(stderr, "many: %s\n", r.acks ? why.text : "no memory");
        return 2;
    }
    r.pub = ensign_publisher_open(r.c, &p);
    if (r.pub.id != 0) go(&r);
    else fprintf(stderr, "many: publisher: %s\n", ensign_error(r.c)->text);
    printf("%lu calls OK, %lu events stored, %lu connections, %lu GOAWAY\n", r.ok, r.acked, r.connections,
           r.goaways);
    ensign_destroy(r.c);
    free(r.acks);
    return r.failed || r.ok < r.calls || r.acked < r.events;
}
