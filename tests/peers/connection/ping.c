/* ping.c - keepalive PINGs each second, and a grpcio server that takes so many, or not
 *
 *   ping LABEL allowed      the server takes a PING a second: pinged.py 1000
 *   ping LABEL too-many     it ends a connection at the third that comes too early: pinged.py 10000
 *
 * For 20 s: a watch of health, which is silent after its first state, and a unary call each 6 s, whose answer
 * clears the server's strikes. Three strikes take 4 s; with half the PINGs they take 8. ENSIGN_ENDPOINT names
 * the server, and there is no TLS: 17 bytes that go out alone are a PING.
 */
#include "ensign.h"

#include <poll.h>

#include "run.h"

enum {
    RUN_MS = 20000,
    EVERY_MS = 6000,
    CALLS = 4,                  /* at 0, 6, 12 and 18 s */
    DEADLINE_MS = 5000,
    KEEPALIVE_MS = 1000,
    PINGS = 12,                 /* at least: 4 or 5 fit between two calls */
    PING_BYTES = 17
};

typedef struct run_t {
    ensign_t *c;
    uint64_t in, out, heard_ms; /* bytes so far, and when the last ones came */
    unsigned pings, hasty;      /* hasty: before interval_ms had passed in silence */
    unsigned quick;             /* those before too_many_pings */
    uint64_t interval_ms;
    unsigned opened, ended, ok;
    ensign_request_t watch;
    unsigned states, waits;
    bool serving;
    unsigned connections, calmed, lost;
} run_t;

/* ------------------------------------------------------------------ the loop, which sees each PING */
static void look(run_t *r, uint64_t now)
{
    ensign_stats_t s;

    if (ensign_stats(r->c, ENSIGN_CLIENT, &s) != ENSIGN_OK) return;
    if (s.bytes_out - r->out == PING_BYTES && s.bytes_in == r->in) {
        r->pings++;
        if (now - r->heard_ms < r->interval_ms) {
            r->hasty++;
            note("a PING after %u ms of silence, not %u", (unsigned)(now - r->heard_ms),
                 (unsigned)r->interval_ms);
        }
    }
    if (s.bytes_in != r->in) r->heard_ms = now;
    r->in = s.bytes_in;
    r->out = s.bytes_out;
}

static void turn(run_t *r, uint64_t until)
{
    ensign_poll_t set[ENSIGN_MAX_FDS];
    struct pollfd fds[ENSIGN_MAX_FDS];
    int n = ensign_poll_set(r->c, set);
    uint64_t now = ensign_now_ms();
    int due = ensign_timeout(r->c, now), left = until > now ? (int)(until - now) : 0;

    for (int i = 0; i < n; i++) {
        bool gone = set[i].want & ENSIGN_GONE;
        fds[i].fd = gone ? -1 : (int)set[i].fd;
        fds[i].events = (short)((set[i].want & ENSIGN_READ ? POLLIN : 0) |
                                (set[i].want & ENSIGN_WRITE ? POLLOUT : 0));
        fds[i].revents = 0;
    }
    poll(fds, (nfds_t)n, due >= 0 && due < left ? due : left);
    for (int i = 0; i < n; i++)
        set[i].ready = (fds[i].revents & POLLIN ? ENSIGN_READ : 0) |
                       (fds[i].revents & POLLOUT ? ENSIGN_WRITE : 0) |
                       (fds[i].revents & (POLLERR | POLLHUP) ? ENSIGN_HUP : 0);
    now = ensign_now_ms();
    ensign_step(r->c, set, (size_t)n, now);
    look(r, now);
}

/* ------------------------------------------------------------------ notices */
static void take_reply(run_t *r, const ensign_notice_t *n)
{
    r->ended++;
    r->ok += n->as.reply.status == ENSIGN_GRPC_OK;
    if (n->error) note("call %u ended with status %d: %s", r->ended, n->as.reply.status, words(n));
}

static void take_watch(run_t *r, const ensign_notice_t *n)
{
    r->serving = n->type == ENSIGN_NOTICE_HEALTH && n->as.health.state == ENSIGN_HEALTH_SERVING;
    r->states += n->type == ENSIGN_NOTICE_HEALTH;
    r->waits += n->type == ENSIGN_NOTICE_WAITING;
    if (n->error) note("the watch, %s: %s", ensign_notice_name(n->type), words(n));
}

/* Whichever notice tells of too_many_pings first: from then on there must be half as many PINGs. */
static void take_client(run_t *r, const ensign_notice_t *n)
{
    r->connections += n->type == ENSIGN_NOTICE_CONNECTED;
    if (!n->error) return;
    note("%s: %s", ensign_notice_name(n->type), words(n));
    if (!says(n, "too_many_pings")) r->lost++;
    else if (n->type != ENSIGN_NOTICE_DISCONNECTED || r->interval_ms == KEEPALIVE_MS) {
        r->calmed++;
        r->quick = r->pings;
        r->interval_ms *= 2;
    }
}

static void take_all(run_t *r)
{
    const ensign_notice_t *n;

    while ((n = ensign_next(r->c)) != NULL) {
        if (n->handle == ENSIGN_CLIENT) take_client(r, n);
        else if (n->handle == r->watch.id) take_watch(r, n);
        else take_reply(r, n);
    }
}

static void open_unary(run_t *r)
{
    ensign_call_desc_t d = { .method = "/grpc.testing.TestService/EmptyCall", .unary = true,
                             .deadline_ms = DEADLINE_MS };

    r->opened++;
    if (ensign_call_open(r->c, &d).id != 0) return;
    r->ended++;
    note("call %u cannot be opened: %s", r->opened, ensign_error(r->c)->text);
}

static void go(run_t *r)
{
    const uint64_t start = ensign_now_ms(), end = start + RUN_MS;
    uint64_t now = start, next = start;

    r->watch = ensign_health(r->c, NULL, true, NULL);
    for (; now < end || r->ended < r->opened; now = ensign_now_ms()) {
        if (now >= next && now < end) {
            open_unary(r);
            next += EVERY_MS;
        }
        turn(r, now < next && next < end ? next : now < end ? end : now + DEADLINE_MS);
        take_all(r);
    }
}

int main(int argc, char **argv)
{
    static run_t r = { .interval_ms = KEEPALIVE_MS };
    ensign_desc_t d = { .keepalive_ms = KEEPALIVE_MS, .keepalive_timeout_ms = 5000 };
    bool too_many;

    run_start(argc, argv, 3, "ping LABEL allowed|too-many");
    too_many = strcmp(argv[2], "too-many") == 0;
    r.c = run_client(&d);
    go(&r);
    note("%u PINGs, %u of them early; %u of %u calls are OK", r.pings, r.hasty, r.ok, r.opened);
    note("%u connections, %u states of the watch and %u WAITING", r.connections, r.states, r.waits);
    result(r.opened == CALLS && r.ok == CALLS, "no call is lost");
    if (too_many) {
        result(r.connections == 2 && r.calmed == 1 && r.lost == 0,
               "too_many_pings ends one connection, and no other ends");
        result(r.pings > r.quick && r.hasty == 0, "from then on a PING goes after twice the time");
        result(r.states == 2 && r.serving, "the watch of health moves on to the next connection");
    } else {
        result(r.connections == 1 && r.calmed == 0 && r.lost == 0, "the server takes all PINGs for 20 s");
        result(r.pings >= PINGS && r.hasty == 0, "a PING goes each second in which nothing comes");
        result(r.states == 1 && r.serving && r.waits == 0, "the watch of health stays");
    }
    ensign_destroy(r.c);
    return run_failures > 0;
}
