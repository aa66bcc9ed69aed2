/* calls.c - a server that ends each connection after a second, and calls that go on all the same
 *
 *   calls LABEL
 *
 * For 20 s: a watch of health, one stream that is held, and a unary call each 100 ms. ENSIGN_ENDPOINT names
 * the server, grpcgo: it sends a GOAWAY, and closes the connection when its grace is over, which may be after
 * this program's end. The held stream keeps its connection until then, or until the next one gets its GOAWAY,
 * too. Then it ENDs, and is opened anew.
 */
#include "ensign.h"

#include "run.h"

enum {
    RUN_MS = 20000,
    EVERY_MS = 100,
    CALLS = RUN_MS / EVERY_MS,
    DEADLINE_MS = 5000,         /* of a unary call: none hangs */
    SLOWEST_MS = 1000           /* a call takes 50 ms at the server */
};

typedef struct run_t {
    ensign_t *c;
    uint64_t opened_ms[CALLS];
    unsigned opened, ended, ok;
    uint64_t slowest_ms;        /* until its end, whichever it was */
    ensign_call_t held;
    unsigned held_opened, held_cut;
    bool held_wrong;            /* one had another end than it should */
    ensign_request_t watch;
    unsigned watch_states, watch_waits;
    bool watch_serving;
    unsigned connections, goaways, disconnects;
} run_t;

static void open_unary(run_t *r, uint64_t now)
{
    ensign_call_desc_t d = { .method = "/grpc.testing.TestService/EmptyCall", .unary = true,
                             .deadline_ms = DEADLINE_MS };

    d.user = &r->opened_ms[r->opened];
    r->opened_ms[r->opened++] = now;
    if (ensign_call_open(r->c, &d).id != 0) return;
    r->ended++;
    note("call %u cannot be opened: %s", r->opened, ensign_error(r->c)->text);
}

static void open_held(run_t *r)
{
    ensign_call_desc_t d = { .method = "/grpc.testing.TestService/FullDuplexCall" };

    r->held = ensign_call_open(r->c, &d);
    r->held_opened++;
}

static void take_reply(run_t *r, const ensign_notice_t *n)
{
    const uint64_t *opened = n->user;
    uint64_t took = ensign_now_ms() - *opened;

    r->ended++;
    if (took > r->slowest_ms) r->slowest_ms = took;
    if (n->as.reply.status == ENSIGN_GRPC_OK) {
        r->ok++;
    } else if (r->ended - r->ok <= 5) { /* a few tell the story */
        note("call %u ended after %u ms with status %d: %s", (unsigned)(opened - r->opened_ms) + 1,
             (unsigned)took, n->as.reply.status, words(n));
    }
}

static void take_held(run_t *r, const ensign_notice_t *n)
{
    if (n->type != ENSIGN_NOTICE_END) return;
    r->held.id = 0;
    if (n->as.end.status == ENSIGN_GRPC_UNAVAILABLE && says(n, "GOAWAY")) {
        if (r->held_cut++ == 0) note("the held stream's END: %s", words(n));
        return;
    }
    r->held_wrong = true;
    note("the held stream ended with status %d: %s", n->as.end.status, words(n));
}

static void take_watch(run_t *r, const ensign_notice_t *n)
{
    r->watch_serving = n->type == ENSIGN_NOTICE_HEALTH && n->as.health.state == ENSIGN_HEALTH_SERVING;
    r->watch_states += n->type == ENSIGN_NOTICE_HEALTH;
    r->watch_waits += n->type == ENSIGN_NOTICE_WAITING;
    if (n->type == ENSIGN_NOTICE_END) note("the watch ended: %s", words(n));
}

static void take_client(run_t *r, const ensign_notice_t *n)
{
    if (n->type == ENSIGN_NOTICE_CONNECTED) r->connections++;
    else if (n->type == ENSIGN_NOTICE_DISCONNECTED) {
        if (r->disconnects++ == 0) note("DISCONNECTED: %s", words(n));
    } else if (n->error && n->error->code == ENSIGN_E_GOAWAY && says(n, "max_age")) {
        if (r->goaways++ == 0) note("%s: %s", ensign_notice_name(n->type), words(n));
    }
}

static void take_all(run_t *r)
{
    const ensign_notice_t *n;

    while ((n = ensign_next(r->c)) != NULL) {
        if (n->handle == ENSIGN_CLIENT) take_client(r, n);
        else if (n->handle == r->watch.id) take_watch(r, n);
        else if (n->handle == r->held.id) take_held(r, n);
        else take_reply(r, n);
    }
}

static void go(run_t *r)
{
    const uint64_t start = ensign_now_ms();
    uint64_t now = start, next = start;

    r->watch = ensign_health(r->c, NULL, true, NULL);
    for (; now < start + RUN_MS || r->ended < r->opened; now = ensign_now_ms()) {
        if (r->opened < CALLS && r->held.id == 0) open_held(r);
        for (; r->opened < CALLS && next <= now; next += EVERY_MS) open_unary(r, now);
        run_wait(r->c, r->opened < CALLS ? next : now + EVERY_MS);
        take_all(r);
    }
}

int main(int argc, char **argv)
{
    static run_t r;
    ensign_desc_t d = { 0 };

    run_start(argc, argv, 2, "calls LABEL");
    r.c = run_client(&d);
    go(&r);
    note("%u of %u calls are OK, the slowest ended after %u ms", r.ok, r.opened, (unsigned)r.slowest_ms);
    note("%u connections, %u held streams, %u states of the watch and %u WAITING", r.connections,
         r.held_opened, r.watch_states, r.watch_waits);
    result(r.opened == CALLS && r.ok == CALLS, "a unary call each 100 ms for 20 s: each is OK");
    result(r.slowest_ms < SLOWEST_MS, "the slowest of them takes less than a second");
    result(r.held_cut > 0 && !r.held_wrong, "a held stream ENDs UNAVAILABLE, with GOAWAY in its text");
    result(r.watch_states > 1 && r.watch_serving, "the watch of health moves on to the new connections");
    result(r.goaways > 1, "each GOAWAY is a notice of the client, with the server's text");
    result(r.connections > 1 && r.disconnects == 0, "the end of a drained connection is no DISCONNECTED");
    ensign_destroy(r.c);
    return run_failures > 0;
}
