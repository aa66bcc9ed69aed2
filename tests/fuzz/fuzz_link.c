/* fuzz_link.c - any bytes from the network, behind a server's SETTINGS
 * Input  a byte for the cuts, a byte that says what the program does besides, then the bytes that come. When
 *        the client hangs up, the rest comes on its next connection.
 * Wants  results of the byte functions are never errors; the timeout is sane and the client comes to rest; a
 *        link that runs has room; each event is answered once, each handle ENDs once; close ends in CLOSED;
 *        memory within the bounds, and all of it back at the end. */
#include "actor.h"

enum { EVENTS = 5, DAY_MS = 24 * 3600 * 1000, CONNECTIONS = 8, ROUNDS_MAX = 5000, HANDLES = 3,
       BACKOFF_MS = 30000 };

typedef struct run_t {
    actor_t a;
    uint32_t handles[HANDLES]; /* a call, a publisher, a subscription */
    bool ended[HANDLES], answered[EVENTS], closed;
    unsigned connections;
    bool lazy; /* notices are pulled at the end only */
} run_t;

static run_t run;

/* ------------------------------------------------------------------ the program */
static void open_all(run_t *r)
{
    static const char *const topics[] = { "weather", "traffic" };
    ensign_call_desc_t call;
    ensign_publisher_desc_t pub;
    ensign_subscription_desc_t sub;

    memset(&call, 0, sizeof call);
    memset(&pub, 0, sizeof pub);
    memset(&sub, 0, sizeof sub);
    call.method = "/fuzz.Service/Method";
    call.window_bytes = 2048;
    call.max_message_bytes = 10000;
    pub.topic = topics[0];
    pub.buffer_bytes = 4096;
    pub.window_bytes = 2048;
    pub.max_in_flight = EVENTS;
    sub.topics = topics;
    sub.topic_count = 2;
    sub.window_bytes = 2048;
    sub.max_event_bytes = 4096;
    sub.max_unacked = 8;
    r->a.bound += ensign_call_memory_bound(&call) + ensign_publisher_memory_bound(&pub) +
                  ensign_subscription_memory_bound(&sub);
    r->handles[0] = ensign_call_open(r->a.c, &call).id;
    r->handles[1] = ensign_publisher_open(r->a.c, &pub).id;
    r->handles[2] = ensign_subscription_open(r->a.c, &sub).id;
    for (int i = 0; i < HANDLES; i++) WANT(r->handles[i] != 0);
}

static void publish_all(run_t *r)
{
    ensign_publisher_t p = { r->handles[1] };
    ensign_event_t e;

    memset(&e, 0, sizeof e);
    e.data = ensign_str("an event");
    for (e.tag = 0; e.tag < EVENTS; e.tag++) WANT(ensign_publish(r->a.c, p, &e) == ENSIGN_OK);
}

/* An idle publisher alone waits for its program. */
static void check_waiting(int at, const ensign_notice_t *n)
{
    uint32_t wait_ms = n->as.waiting.retry_in_ms;
    WANT(n->error && (wait_ms <= BACKOFF_MS || (wait_ms == ENSIGN_FOREVER && at == 1)));
}

static void take(run_t *r, const ensign_notice_t *n)
{
    ensign_subscription_t sub = { r->handles[2] };
    uint64_t tag = n->type == ENSIGN_NOTICE_ACK ? n->as.ack.tag : n->as.nack.tag;
    int at = 0, rc;

    if (n->error) WANT(n->error->code < 0 && memchr(n->error->text, '\0', sizeof n->error->text) != NULL);
    if (n->handle == ENSIGN_CLIENT) {
        WANT(!r->closed && n->type <= ENSIGN_NOTICE_CLOSED);
        r->closed = n->type == ENSIGN_NOTICE_CLOSED;
        return;
    }
    while (at < HANDLES && r->handles[at] != n->handle) at++;
    WANT(at < HANDLES && !r->ended[at]);
    WANT(n->last == (n->type == ENSIGN_NOTICE_END));
    WANT(n->type > ENSIGN_NOTICE_CLOSED && n->type != ENSIGN_NOTICE_REPLY); /* nobody else's */
    if (n->type == ENSIGN_NOTICE_WAITING) check_waiting(at, n);
    r->ended[at] = n->last;
    if (n->type == ENSIGN_NOTICE_ACK || n->type == ENSIGN_NOTICE_NACK) {
        WANT(at == 1 && tag < EVENTS && !r->answered[tag]);
        r->answered[tag] = true;
    }
    if (n->type != ENSIGN_NOTICE_EVENT) return;
    rc = ensign_ack(r->a.c, sub, n->as.event->token);
    WANT(rc == ENSIGN_OK || rc == ENSIGN_ENDED);
}

static void pull_all(run_t *r)
{
    const ensign_notice_t *n;
    for (int i = 0; (n = ensign_next(r->a.c)) != NULL; i++) {
        WANT(i < ROUNDS_MAX);
        take(r, n);
    }
}

/* ------------------------------------------------------------------ the link */
static void send_all(run_t *r, int link)
{
    size_t n = 0;
    for (int i = 0; ensign_tx_buf(r->a.c, link, &n) && n > 0; i++) {
        WANT(i < ROUNDS_MAX);
        WANT(ensign_tx_ack(r->a.c, link, n) == ENSIGN_OK);
    }
}

static void receive(run_t *r, int link, const uint8_t *p, size_t n)
{
    size_t cap = 0;
    uint8_t *room = ensign_rx_buf(r->a.c, link, &cap);

    WANT(room != NULL && cap >= n);
    memcpy(room, p, n);
    WANT(ensign_rx_ack(r->a.c, link, n, r->a.now) == ENSIGN_OK);
}

/* Answers what one link wants. False: nothing. */
static bool serve_link(run_t *r, conn_t *c)
{
    static const uint8_t settings[9] = { 0, 0, 0, 4 };
    ensign_link_t l;

    send_all(r, c->link);
    ensign_link(r->a.c, c->link, &l);
    switch (l.todo) {
    case ENSIGN_LINK_DIAL:
        if (++r->connections > CONNECTIONS) {
            WANT(ensign_link_down(r->a.c, c->link, l.attempt, ECONNREFUSED, r->a.now) == ENSIGN_OK);
            return true;
        }
        c->attempt = l.attempt;
        r->a.conn = c;
        WANT(ensign_link_up(r->a.c, c->link, l.attempt, 0, r->a.now) == ENSIGN_OK);
        receive(r, c->link, settings, sizeof settings);
        return true;
    case ENSIGN_LINK_HANGUP:
        WANT(ensign_link_down(r->a.c, c->link, l.attempt, 0, r->a.now) == ENSIGN_OK);
        return true;
    default:
        return false;
    }
}

/* Answers what the links want. False: nothing. */
static bool serve(run_t *r)
{
    int t = ensign_timeout(r->a.c, r->a.now);
    bool moved = false;

    WANT(t >= -1 && t <= DAY_MS);
    WANT(ensign_tick(r->a.c, r->a.now) == ENSIGN_OK);
    for (int i = 0; i < CONNS; i++) moved = serve_link(r, &r->a.conns[i]) || moved;
    return moved;
}

/* Does a link run? The newest one of them gets what comes. */
static bool running(run_t *r)
{
    ensign_link_t l;

    for (int i = 0; i < CONNS; i++) {
        ensign_link(r->a.c, r->a.conn->link, &l);
        if (l.todo == ENSIGN_LINK_RUN) return true;
        r->a.conn = &r->a.conns[r->a.conn == &r->a.conns[0]];
    }
    return false;
}

/* Until nothing more can be done; where no link runs, time goes on to the next timer. */
static void settle(run_t *r)
{
    for (int i = 0;; i++) {
        WANT(i < ROUNDS_MAX);
        if (serve(r)) continue;
        if (!r->lazy) pull_all(r);
        if (running(r) || r->connections > CONNECTIONS) return;
        if (ensign_pending(r->a.c, 0))
            r->a.now += 500; /* nobody pulls: the timeout is 0 */
        else if (!actor_sleep(&r->a, DAY_MS))
            return;
    }
}

/* ------------------------------------------------------------------ the whole */
static void feed(run_t *r)
{
    while (input_left(&r->a) && running(r)) {
        size_t left = (size_t)(r->a.end - r->a.p), cap = 0;
        WANT(ensign_rx_buf(r->a.c, r->a.conn->link, &cap) != NULL && cap > 0);
        left = actor_chunk(&r->a, left < cap ? left : cap);
        receive(r, r->a.conn->link, r->a.p, left);
        r->a.p += left;
        settle(r);
    }
}

static void finish(run_t *r)
{
    r->lazy = false;
    pull_all(r);
    WANT(ensign_close(r->a.c, ENSIGN_CLIENT, 500) == ENSIGN_OK);
    for (int i = 0; !r->closed; i++) {
        WANT(i < ROUNDS_MAX);
        while (serve(r)) {
        }
        pull_all(r);
        if (!r->closed) (void)actor_sleep(&r->a, 100);
    }
    for (int i = 0; i < HANDLES; i++) WANT(r->ended[i] && !ensign_pending(r->a.c, r->handles[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t what;
    bool published;

    if (size < 3 || size > 8192) return 0;
    memset((uint8_t *)&run + sizeof run.a, 0, sizeof run - sizeof run.a);
    actor_begin(&run.a, data, size);
    run.a.cut = input_byte(&run.a);
    what = input_byte(&run.a);
    run.lazy = (what & 1) != 0;
    published = (what & 2) == 0;
    open_all(&run);
    if (published) publish_all(&run);
    settle(&run);
    feed(&run);
    if (what & 4 && running(&run)) actor_cut(&run.a, run.a.conn, ECONNRESET);
    if (what & 8) settle(&run);
    finish(&run);
    for (int i = 0; i < EVENTS; i++) WANT(run.answered[i] == published);
    actor_end(&run.a);
    return 0;
}
