/* After an outage everybody is back within twice its length and a second, however the server was away, and
 * whatever chance makes of the backoffs. */
#include "service.h"

enum { SEEDS = 1000, SUBS = 8, PUBS = 2, WATCHES = 2, HANDLES = SUBS + PUBS + WATCHES, CALM_MS = 30000 };

typedef enum {                      /* how the server is away */
    REFUSED, CLOSED, UNAVAILABLE,
    MIXED,                          /* each connection in another way */
    AUTH_REFUSED, AUTH_CLOSED, AUTH_503, /* the auth service is, and no token is good any more */
    BOTH                            /* server and auth service, and no token is good any more */
} way_t;

static struct {
    way_t way;
    uint64_t until;                 /* the outage is over then */
    unsigned auth_served;
    uint32_t handle[HANDLES];
    bool open[HANDLES];
    uint64_t put[PUBS], acked[PUBS];
} now;

static bool away(const world_t *w)
{
    return w->now < now.until;
}

static bool of_auth(void)
{
    return now.way == AUTH_REFUSED || now.way == AUTH_CLOSED || now.way == AUTH_503 || now.way == BOTH;
}

/* ------------------------------------------------------------------ the servers */
static dial_t on_dial(world_t *w, int link, const char *address)
{
    static const dial_t mixed[] = { DIAL_REFUSE, DIAL_CLOSE, DIAL_BABBLE, DIAL_ACCEPT };
    bool auth = link == ENSIGN_LINK_AUTH;
    (void)address;
    if (!away(w) || (auth && !of_auth())) return DIAL_ACCEPT;
    switch (now.way) {
    case REFUSED: return DIAL_REFUSE;
    case CLOSED: return DIAL_CLOSE;
    case MIXED: return mixed[world_below(w, COUNT(mixed))];
    case AUTH_REFUSED: return auth ? DIAL_REFUSE : DIAL_ACCEPT;
    case AUTH_CLOSED: return auth ? DIAL_CLOSE : DIAL_ACCEPT;
    case BOTH: return DIAL_REFUSE;
    default: return DIAL_ACCEPT;
    }
}

static void on_headers(world_t *w, stream_t *s)
{
    const char *token = peer_field(s, "authorization"); /* health goes without */
    if (away(w) && (now.way == UNAVAILABLE || now.way == MIXED))
        peer_refuse(s, ENSIGN_GRPC_UNAVAILABLE, "in maintenance");
    else if (of_auth() && token && !strstr(token, w->access))
        peer_refuse(s, ENSIGN_GRPC_UNAUTHENTICATED, "the token has expired");
}

static void on_message(world_t *w, stream_t *s, ensign_slice_t m)
{
    const char *path = peer_field(s, ":path");
    bytes_t reply = {0};
    if (s->done) return;
    if (strstr(path, "/Publish")) {
        service_publish(w, s, m);
    } else if (strstr(path, "/Subscribe")) {
        service_ready(s, 2);
    } else {
        enc_uint(&reply, 1, ENSIGN_HEALTH_SERVING);
        peer_send(s, &reply);
    }
}

/* What has come to the auth service since the last time is answered. */
static bool serve_auth(world_t *w)
{
    if (now.auth_served == w->auth_requests) return false;
    now.auth_served = w->auth_requests;
    if (away(w) && now.way == AUTH_503) auth_answer(w, 503, "{\"error\":\"in maintenance\"}");
    else auth_grant(w);
    return true;
}

/* The outage begins: every stream ends. */
static void go_away(world_t *w, uint64_t length)
{
    int status = of_auth() ? ENSIGN_GRPC_UNAUTHENTICATED : ENSIGN_GRPC_UNAVAILABLE;
    now.until = w->now + length;
    memset(now.open, 0, sizeof now.open);
    snprintf(w->access, sizeof w->access, "none");
    if (now.way == REFUSED || now.way == CLOSED || now.way == MIXED || now.way == BOTH) {
        world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
        return;
    }
    for (size_t i = 0; i < w->stream_count; i++) {
        stream_t *s = w->streams[i];
        if (!s->closed && !s->done) peer_finish(s, status, "it is over", NULL);
    }
}

/* ------------------------------------------------------------------ the client */
static void pull(world_t *w)
{
    const ensign_notice_t *n;
    while ((n = world_pull_any(w, 0)) != NULL) {
        for (size_t i = 0; i < HANDLES; i++) {
            if (now.handle[i] != n->handle) continue;
            if (n->type == ENSIGN_NOTICE_OPEN || n->type == ENSIGN_NOTICE_HEALTH) now.open[i] = true;
            if (n->type == ENSIGN_NOTICE_ACK) now.acked[i - SUBS]++;
            if (n->last) world_fail(w, "handle %zu ended: %s", i, n->error ? n->error->text : "-");
        }
    }
}

static void settle(world_t *w)
{
    do world_settle(w);
    while (serve_auth(w));
    pull(w);
}

static void pass(world_t *w, uint64_t ms)
{
    uint64_t end = w->now + ms;
    settle(w);
    while (w->now < end) {
        int t = ensign_timeout(w->client, w->now);
        if (t == 0) world_fail(w, "a step is due that has just been done");
        w->now = t > 0 && w->now + (uint64_t)t < end ? w->now + (uint64_t)t : end;
        settle(w);
    }
}

static bool all_back(void)
{
    for (size_t i = 0; i < HANDLES; i++)
        if (!now.open[i]) return false;
    return memcmp(now.put, now.acked, sizeof now.put) == 0;
}

static void open_all(world_t *w)
{
    ensign_subscription_desc_t s;
    ensign_publisher_desc_t p;
    size_t n = 0;
    memset(&s, 0, sizeof s);
    memset(&p, 0, sizeof p);
    p.topic = "weather";
    while (n < SUBS) now.handle[n++] = ensign_subscription_open(w->client, &s).id;
    while (n < SUBS + PUBS) now.handle[n++] = ensign_publisher_open(w->client, &p).id;
    while (n < HANDLES) now.handle[n++] = ensign_health(w->client, "", true, NULL).id;
    settle(w);
    assert_true(all_back());
}

/* Each publisher takes an event, before, in or after the outage. */
static void publish(world_t *w)
{
    ensign_event_t e;
    memset(&e, 0, sizeof e);
    e.data = text_slice("x");
    for (size_t i = 0; i < PUBS; i++) {
        ensign_publisher_t p;
        p.id = now.handle[SUBS + i];
        if (world_below(w, 2) == 0) continue;
        assert_int_equal(ensign_publish(w->client, p, &e), ENSIGN_OK);
        now.put[i]++;
    }
}

/* Any order of magnitude is as likely as another: 1 ms to 300 s. */
static uint64_t any_length(world_t *w)
{
    uint32_t most = 300000;
    for (uint32_t halvings = world_below(w, 18); halvings > 0; halvings--) most /= 2;
    return 1 + world_below(w, most);
}

static void one_outage(world_t *w)
{
    uint64_t length = any_length(w), began = w->now, part = world_below(w, (uint32_t)length);
    go_away(w, length);
    pass(w, part);
    publish(w);
    pass(w, length - part);
    while (!all_back() && w->now - began <= 2 * length + 1000) {
        int t = ensign_timeout(w->client, w->now);
        w->now += t > 0 ? (uint64_t)t : 1;
        settle(w);
    }
    if (!all_back() || w->now - began > 2 * length + 1000)
        world_fail(w, "an outage of %llu ms, and not all are back after %llu", (unsigned long long)length,
                   (unsigned long long)(w->now - began));
}

/* Two outages, with peace before and between them: the first one is forgotten. */
static void run(way_t way, uint64_t seed)
{
    world_t *w = &world;
    static const char *const address[] = { "127.0.0.1" };
    world_begin(w, WHOLE, seed);
    memset(&now, 0, sizeof now);
    w->script = "outage";
    now.way = way;
    w->on_dial = on_dial;
    w->on_headers = on_headers;
    w->on_message = on_message;
    w->addresses = address;
    w->address_count = 1;
    w->auth_manual = true;
    w->access_s = 24 * 3600;
    service.ack = true;
    if (of_auth()) world_create_with_key(w);
    else world_create(w);
    open_all(w);
    pass(w, world_below(w, 2 * CALM_MS));
    one_outage(w);
    pass(w, CALM_MS + world_below(w, CALM_MS));
    one_outage(w);
    world_close(w);
    service_reset();
}

static void all_are_back_within_twice_the_outage_and_a_second(void **state)
{
    way_t way = (way_t)(uintptr_t)*state;
    const char *one = getenv("SEED");
    uint64_t first = one ? strtoull(one, NULL, 10) : 1;
    uint64_t count = one ? 1 : SEEDS / fewer();
    for (uint64_t seed = first; seed < first + count; seed++) run(way, seed);
    world.finished = true;
}

#define OUTAGE(way)                                                                                          \
    { "all are back within twice the outage and a second: " #way,                                            \
      all_are_back_within_twice_the_outage_and_a_second, NULL, script_after, (void *)(uintptr_t)(way) }

int main(void)
{
    const struct CMUnitTest tests[] = {
        OUTAGE(REFUSED), OUTAGE(CLOSED), OUTAGE(UNAVAILABLE), OUTAGE(MIXED),
        OUTAGE(AUTH_REFUSED), OUTAGE(AUTH_CLOSED), OUTAGE(AUTH_503), OUTAGE(BOTH),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
