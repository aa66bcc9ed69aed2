/* publish.c - publishers behind a relay that ends each connection after a second
 *
 *   publish LABEL DIRECT_ENDPOINT
 *
 * For 20 s three publishers send an event each 20 ms, beside a query that is held, so that it never ends by
 * itself. ENSIGN_ENDPOINT names the relay, grpcgo, and DIRECT_ENDPOINT the ensignd behind it. At last the
 * events are read from there: all are stored, and those of one publisher in their order. One that was on its
 * way when its stream was cut may be there twice.
 */
#include "ensign.h"

#include "run.h"

#define EVENTS "relayed_events"
#define ROWS   "relayed_rows"

enum {
    RUN_MS = 20000,
    EVERY_MS = 20,
    PUBLISHERS = 3,
    EACH = RUN_MS / EVERY_MS,
    ROW_COUNT = 2000, ROW_BYTES = 1000,     /* far more than fit in all the buffers of a query that is held */
    END_MS = 10000,                         /* for what is left in the end */
    WAIT_MS = 10000                         /* for one notice of the preparation, and of the reading */
};

typedef struct publisher_t {
    ensign_publisher_t p;
    unsigned sent, acks[EACH], nacks, opens, waits;
    uint64_t sent_ms[EACH], slowest_ms;
    bool ended, well;
    unsigned seen;              /* of its events, in the end: all before this one were read */
} publisher_t;

typedef struct run_t {
    ensign_t *c;
    publisher_t publishers[PUBLISHERS];
    ensign_query_t held;
    unsigned connections, disconnects;
} run_t;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "publish: %s: %s\n", what, why);
    exit(2);
}

static const ensign_notice_t *await(ensign_t *c, uint32_t handle)
{
    const ensign_notice_t *n;

    if (ensign_await(c, handle, WAIT_MS, &n) != ENSIGN_OK) fail("await", ensign_error(c)->text);
    return n;
}

/* ------------------------------------------------------------------ before: rows for the held query */
static void store_rows(ensign_t *c)
{
    static uint8_t bytes[ROW_BYTES];
    ensign_publisher_desc_t d = { .topic = ROWS, .ensure_topic = true, .buffer_bytes = 4 << 20 };
    ensign_publisher_t p = ensign_publisher_open(c, &d);
    ensign_event_t e = { .data = { bytes, sizeof bytes } };

    for (unsigned i = 0; i < ROW_COUNT; i++)
        if (ensign_publish(c, p, &e) != ENSIGN_OK) fail("publish a row", ensign_error(c)->text);
    if (ensign_publisher_flush(c, p, WAIT_MS) != ENSIGN_OK) fail("store the rows", ensign_error(c)->text);
    ensign_forget(c, p.id);
    if (await(c, ensign_topic_ensure(c, EVENTS, NULL).id)->type != ENSIGN_NOTICE_TOPIC)
        fail(EVENTS, "no topic");
}

/* ------------------------------------------------------------------ meanwhile */
static void send_one(run_t *r, publisher_t *p)
{
    char text[32];
    ensign_event_t e = { .tag = p->sent };

    snprintf(text, sizeof text, "%u %u", (unsigned)(p - r->publishers), p->sent);
    e.data = ensign_str(text);
    if (ensign_publish(r->c, p->p, &e) == ENSIGN_OK) p->sent_ms[p->sent++] = ensign_now_ms();
    else fail("publish", ensign_error(r->c)->text);
}

static void take_answer(publisher_t *p, const ensign_notice_t *n)
{
    uint64_t took;

    switch (n->type) {
    case ENSIGN_NOTICE_ACK:
        took = ensign_now_ms() - p->sent_ms[n->as.ack.tag];
        if (took > p->slowest_ms) p->slowest_ms = took;
        p->acks[n->as.ack.tag]++;
        break;
    case ENSIGN_NOTICE_NACK:
        if (p->nacks++ == 0) note("NACK: %s", words(n));
        break;
    case ENSIGN_NOTICE_OPEN:
        p->opens++;
        break;
    case ENSIGN_NOTICE_WAITING:
        if (p->waits++ == 0) note("WAITING: %s", words(n));
        break;
    case ENSIGN_NOTICE_END:
        p->ended = true;
        p->well = n->error == NULL;
        if (n->error) note("a publisher ended: %s", words(n));
        break;
    default:
        break;
    }
}

static void take_client(run_t *r, const ensign_notice_t *n)
{
    r->connections += n->type == ENSIGN_NOTICE_CONNECTED;
    if (n->type == ENSIGN_NOTICE_DISCONNECTED && r->disconnects++ == 0) note("DISCONNECTED: %s", words(n));
}

static void take_all(run_t *r)
{
    const ensign_notice_t *n;

    while ((n = ensign_next(r->c)) != NULL) {
        if (n->handle == ENSIGN_CLIENT) take_client(r, n);
        else take_answer(n->user, n);
    }
}

static bool all_ended(const run_t *r)
{
    for (unsigned i = 0; i < PUBLISHERS; i++)
        if (!r->publishers[i].ended) return false;
    return true;
}

static void go(run_t *r)
{
    ensign_query_desc_t q = { .sql = "SELECT * FROM " ROWS, .window_bytes = 4096 };
    ensign_publisher_desc_t d = { .topic = EVENTS };
    const uint64_t start = ensign_now_ms(), end = start + RUN_MS;
    uint64_t now = start, next = start;

    r->held = ensign_query_open(r->c, &q);
    ensign_hold(r->c, r->held.id, true);
    for (unsigned i = 0; i < PUBLISHERS; i++) {
        d.user = &r->publishers[i];
        r->publishers[i].p = ensign_publisher_open(r->c, &d);
    }
    for (unsigned sent = 0; sent < EACH; now = ensign_now_ms()) {
        for (; sent < EACH && next <= now; next += EVERY_MS, sent++)
            for (unsigned i = 0; i < PUBLISHERS; i++) send_one(r, &r->publishers[i]);
        run_wait(r->c, next);
        take_all(r);
    }
    for (unsigned i = 0; i < PUBLISHERS; i++) ensign_close(r->c, r->publishers[i].p.id, END_MS);
    for (; !all_ended(r) && now < end + END_MS + WAIT_MS; now = ensign_now_ms()) {
        run_wait(r->c, now + EVERY_MS);
        take_all(r);
    }
}

/* ------------------------------------------------------------------ after */
static void tell_acks(const run_t *r)
{
    unsigned sent = 0, once = 0, more = 0, nacks = 0;
    bool well = true;

    for (unsigned i = 0; i < PUBLISHERS; i++) {
        const publisher_t *p = &r->publishers[i];
        sent += p->sent;
        nacks += p->nacks;
        well = well && p->ended && p->well;
        for (unsigned k = 0; k < p->sent; k++) {
            once += p->acks[k] == 1;
            more += p->acks[k] > 1;
        }
        note("publisher %u: %u streams, %u WAITING, the slowest ACK after %u ms", i, p->opens, p->waits,
             (unsigned)p->slowest_ms);
    }
    note("%u events: %u with one ACK, %u with more, %u NACKs; %u connections", sent, once, more, nacks,
         r->connections);
    result(sent == PUBLISHERS * EACH && once == sent && nacks == 0, "each event of %u publishers has one ACK",
           (unsigned)PUBLISHERS);
    result(well, "the publishers END without an error");
}

/* The rows that are here come before the END. */
static void tell_held(run_t *r)
{
    const ensign_notice_t *n;

    do n = ensign_next_of(r->c, r->held.id);
    while (n && !n->last);
    if (n) note("the held query's END: %s", words(n));
    else note("the held query has not ended");
    result(n && n->as.end.status == ENSIGN_GRPC_UNAVAILABLE && says(n, "GOAWAY"),
           "a held query ENDs UNAVAILABLE, with GOAWAY in its text");
    result(r->connections > 1 && r->disconnects == 0, "the relay's GOAWAYs are no DISCONNECTED");
}

/* An event that was stored before comes again, or the next one of its publisher does: no other. */
static bool read_event(run_t *r, const ensign_event_t *e, unsigned *again)
{
    char text[32];
    unsigned i, k;

    snprintf(text, sizeof text, "%.*s", (int)e->data.len, (const char *)e->data.ptr);
    if (sscanf(text, "%u %u", &i, &k) != 2 || i >= PUBLISHERS || k > r->publishers[i].seen) return false;
    if (k == r->publishers[i].seen) r->publishers[i].seen++;
    else ++*again;
    return true;
}

static void tell_stored(run_t *r, ensign_t *direct)
{
    ensign_query_desc_t d = { .sql = "SELECT * FROM " EVENTS, .include_duplicates = true };
    ensign_query_t q = ensign_query_open(direct, &d);
    const ensign_notice_t *n;
    unsigned again = 0, all = 0;
    bool ordered = true;

    do {
        n = await(direct, q.id);
        if (n->type == ENSIGN_NOTICE_EVENT && ordered && !read_event(r, n->as.event, &again)) {
            ordered = false;
            note("row '%.*s' is out of order", (int)n->as.event->data.len,
                 (const char *)n->as.event->data.ptr);
        }
    } while (!n->last);
    if (n->error) note("the query ended: %s", words(n));
    for (unsigned i = 0; i < PUBLISHERS; i++) all += r->publishers[i].seen;
    note("%u events are stored, %u of them again", all, again);
    result(ordered && all == PUBLISHERS * EACH, "all are stored, each publisher's in their order");
}

int main(int argc, char **argv)
{
    static run_t r;
    ensign_desc_t d = { 0 }, straight = { 0 };
    ensign_t *direct;

    run_start(argc, argv, 3, "publish LABEL DIRECT_ENDPOINT");
    straight.endpoint = argv[2];
    direct = run_client(&straight);
    r.c = run_client(&d);
    store_rows(direct);
    go(&r);
    tell_acks(&r);
    tell_held(&r);
    tell_stored(&r, direct);
    ensign_destroy(r.c);
    ensign_destroy(direct);
    return run_failures > 0;
}
