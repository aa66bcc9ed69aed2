/* sim.c - a client, a server that remembers, and all that can go wrong between them, in virtual time
 *
 * One seed is one run. The engine is the real one, by its functions without sockets. What a run does is drawn
 * by the seed alone, so a run that fails is replayed by its seed. A process runs many seeds, one behind the
 * other; where one fails, crashes or does not end, another process goes on behind it. */
#include "outage.h"

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { SEEDS = 2000, LIMIT_S = 60 };

/* mbedTLS puts the clock's time into its hellos: here it stands still, so that a run repeats itself. */
time_t time(time_t *out)
{
    const time_t some_day = 1750000000;
    if (out) *out = some_day;
    return some_day;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec;
}

/* ------------------------------------------------------------------ what is told of it all
 * In every other run, and without a draw of chance: the others are what they are without it. */
static void look_for_secrets(world_t *w, const char *text)
{
    const char *const secrets[] = { w->desc.client_secret, w->access, w->refresh, net_proxy_basic };
    for (size_t i = 0; i < COUNT(secrets); i++)
        if (secrets[i] && strlen(secrets[i]) >= 24 && strstr(text, secrets[i]))
            world_fail(w, "told: %s", text);
}

static void on_log(void *user, int level, const char *text)
{
    (void)level;
    look_for_secrets((world_t *)user, text);
}

static void on_trace(void *user, const ensign_frame_t *f)
{
    world_t *w = (world_t *)user;
    char text[1600];
    int len = ensign_frame_text(f, text, sizeof text);
    if (f->link < 0 || f->link >= ENSIGN_MAX_LINKS || len >= (int)sizeof text)
        world_fail(w, "a frame of link %d, %zu bytes of names", f->link, strlen(f->names));
    look_for_secrets(w, text);
}

/* ------------------------------------------------------------------ one run */
/* How the service is reached: by a name, by several endpoints, by a unix socket, through a proxy. */
static void run_way(world_t *w)
{
    static const char *const lists[HOSTS] = {
        "10.0.0.1:5356", "10.0.0.1:5356,10.0.0.2:5356", "10.0.0.1:5356,10.0.0.2:5356,10.0.0.3:5356",
    };
    static const char *const with_unix[HOSTS] = {
        "unix:10.0.0.1", "10.0.0.1:5356,unix:10.0.0.2", "unix:10.0.0.3,10.0.0.1:5356,10.0.0.2:5356",
    };
    ensign_desc_t *d = &w->desc;
    uint32_t way = world_below(w, 4);
    net.hosts = 1 + world_below(w, HOSTS);
    d->endpoint = way == 0 ? lists[net.hosts - 1] : way == 1 ? with_unix[net.hosts - 1] : "service.test:5356";
    if (way < 2 && net.hosts > 1) TALLY(user, endpoints);
    d->shuffle_endpoints = world_below(w, 2) != 0;
    if (way == 1 || world_below(w, 5) > 0) return; /* a unix socket needs no proxy */
    TALLY(user, proxy);
    net.proxied = true;
    w->on_connect = net_connect;
    d->proxy = "http://me:a-secret-of-the-proxy@10.0.9.1:3128";
}

/* TLS stands before the servers of some runs: it costs much. Their sessions are resumed. */
static void run_secure(world_t *w)
{
    ensign_desc_t *d = &w->desc;
    if (world_below(w, 16)) return;
    TALLY(user, tls);
    w->secure = secure_open(w->seed);
    d->tls.off = false;
    d->tls.ca_pem = d->auth_tls.ca_pem = secure_ca();
    d->tls.server_name = d->auth_tls.server_name = "localhost";
    d->tls.no_resume = world_below(w, 4) == 0;
    d->random = secure_random;
}

static void run_desc(world_t *w)
{
    static ensign_method_t methods[1];
    ensign_desc_t *d = &w->desc;
    if (w->seed % 2) d->log = on_log, d->trace = on_trace;
    run_way(w);
    run_secure(w);
    methods[0].method = "/test.Service/";
    methods[0].retry.max_attempts = 1 + world_below(w, 5);
    methods[0].retry.backoff_min_ms = 1 + world_below(w, 300);
    methods[0].retry.backoff_max_ms = methods[0].retry.backoff_min_ms + world_below(w, 2000);
    methods[0].retry.statuses = 1u << ENSIGN_GRPC_UNAVAILABLE;
    d->methods = methods;
    d->method_count = COUNT(methods);
    d->allow_plaintext_token = true;
    d->alloc = net_alloc;
    d->connect_timeout_ms = 1000 + world_below(w, 2000);
    d->auth_timeout_ms = 1000 + world_below(w, 2000);
    d->request_timeout_ms = 4000;
    d->backoff_min_ms = 50 + world_below(w, 100);
    d->backoff_max_ms = 500 + world_below(w, 1500);
    if (world_below(w, 10) == 0) {
        TALLY(fault, gives_up);
        d->give_up_after_ms = 2000 + world_below(w, 60000);
    }
    d->max_handles = SLOTS + 2;
    d->topic_cache = world_below(w, 3) ? 0 : 1 + world_below(w, 4);
    w->access_s = world_below(w, 3) ? 3600 : 4 + world_below(w, 60);
    w->overlap_s = w->access_s / 2;
    w->refresh_s = 2 * w->access_s;
    w->auth_chunked = world_below(w, 2) != 0;
    client_bound = ensign_memory_bound(d);
}

static void run_begin(world_t *w, uint64_t seed)
{
    static const chunk_t modes[] = { WHOLE, RANDOM, RANDOM, BYTE };
    world_begin(w, WHOLE, seed);
    w->rng = seed * 7919;
    (void)world_rand(w);
    w->mode = modes[world_below(w, COUNT(modes))];
    w->script = "sim";
    model_begin(w);
    user_begin();
    if (world_below(w, 8)) topic_make(0);
    run_desc(w);
    if (world_below(w, 3)) {
        static const char *const urls[2][2] = {
            { "http://auth.test:8088", "http://10.0.1.1,http://10.0.1.2:8088" },
            { "https://auth.test:8088", "https://10.0.1.1,https://10.0.1.2:8088" },
        };
        w->desc.auth_url = urls[w->secure != NULL][world_below(w, 2)];
        w->desc.client_id = "DbIxBEtIUgNIClnFMDmvoZeMrLxUTJVa";
        w->desc.client_secret = "wAfRpXLTiWn7yo7HQzOCwxMvveqiHXoeVJghlSIK2YbMqOMCUiSVRVQOLT0ORrVS";
        client_bound = ensign_memory_bound(&w->desc);
    }
}

static void be_calm(world_t *w)
{
    int link;
    model.calm = true;
    w->fail_in = 0;
    for (link = 0; link < ENSIGN_MAX_LINKS; link++) w->cut_in[link] = w->cut_out[link] = -1;
    mend(w);
    topic_make(0);
}

static void unhold_all(world_t *w)
{
    unsigned i;
    for (i = 0; i < SLOTS; i++) hold_slot(w, &slots[i], false);
}

/* The probe: a call that is opened now is answered. */
static bool call_answered(world_t *w, slot_t *s)
{
    uint64_t start = w->now;
    open_call(w, s, true);
    if (!s->open) return false;
    while (s->open && w->now - start < 10000) net_pass(w, 200, true);
    return !s->open && s->got == 1;
}

/* The server behaves from now on. What is open comes to rest; streams that the server has taken, and is
 * silent on, stay as they are, and hold up nothing else. */
static void check_served(world_t *w)
{
    slot_t *probe = some_slot(w, SLOT_CALL);
    uint64_t start = w->now, most = on_mute_link(w) ? MUTE_MS : SERVED_MS, answer;
    const slot_t *s;
    TALLY(fault, calm);
    be_calm(w);
    spoil_hosts(w);
    unhold_all(w);
    while ((s = first_unserved(w)) != NULL && w->now - start < most) net_pass(w, 500, true);
    if (client_failed) return;
    if (s)
        sim_die("a %s (slot %u) is not served by a server that has behaved for %llu ms", slot_what(s),
                s->number, (llu_t)most);
    if (probe->open) {
        (void)ensign_forget(w->client, probe->id);
        slot_over(probe);
    }
    answer = on_mute_link(w) ? MUTE_MS : ANSWER_MS;
    for (start = w->now; !call_answered(w, probe) && !client_failed;) {
        if (probe->open) sim_die("a unary call outlives its deadline");
        if (w->now - start > answer) sim_die("no unary call is answered by a server that behaves");
    }
    model.calm = model.peace;
}

/* Streams and connections that were mute end, and everything is closed. */
static void run_end(world_t *w)
{
    uint64_t start;
    flow_t *f;
    unsigned i;
    int link;
    be_calm(w);
    unhold_all(w);
    for (link = 0; link < ENSIGN_MAX_LINKS; link++) {
        if (w->runs[link] && w->runs[link]->mute) world_cut_link(w, link, ECONNRESET);
    }
    for (f = model.flows; f; f = f->next) {
        if (!flow_lives(f) || !(f->mute || f->tongue_tied)) continue;
        if (f->stream->started) peer_finish(f->stream, ENSIGN_GRPC_UNAVAILABLE, "the model gives up", NULL);
        else peer_refuse(f->stream, ENSIGN_GRPC_UNAVAILABLE, "the model gives up");
    }
    if (ensign_close(w->client, ENSIGN_CLIENT, CLOSE_MS) != ENSIGN_OK) sim_die("ensign_close of the client");
    for (i = 0; i < SLOTS; i++) slots[i].closing = slots[i].half = true;
    for (start = w->now; !client_closed; net_pass(w, 200, true)) {
        if (w->now - start > 2 * CLOSE_MS) sim_die("ensign_close does not come to its end");
        model_deliver(w);
    }
    check_closed();
}

static void run_chaos(world_t *w)
{
    unsigned steps = 100 + world_below(w, 500), i;
    unsigned calm_at = world_below(w, 2) ? world_below(w, steps) : steps;
    if (world_below(w, 12) == 0) {
        TALLY(fault, little_memory);
        w->fault = true;
        w->desc.memory_limit = client_bound / 2 + world_below(w, 600000);
    }
    world_create(w);
    model.peace = model.calm = world_below(w, 8) == 0 && !w->desc.memory_limit;
    if (model.peace) {
        TALLY(fault, none);
    } else if (world_below(w, 4) == 0) {
        TALLY(fault, no_memory);
        w->fault = true;
        w->fail_in = 8 + world_below(w, 53);
    }
    for (i = 0; i < steps && w->conn_count < WORLD_CONNS / 2; i++) {
        step(w);
        if (i == calm_at && !w->desc.memory_limit) check_served(w);
        user_pull_all(w);
        check_alive(w);
    }
}

static void run(uint64_t seed)
{
    world_t *w = &world;
    run_begin(w, seed);
    if (world_below(w, 8)) {
        run_chaos(w);
    } else {
        w->desc.backoff_min_ms = w->desc.backoff_max_ms = w->desc.give_up_after_ms = 0;
        world_create(w);
        run_outages(w);
    }
    if (world_below(w, 10) == 0) TALLY(user, destroy);
    else run_end(w);
    world_free(w);
    model_end();
    if (w->live || w->blocks) sim_die("%zu bytes in %zu blocks are left behind", w->live, w->blocks);
}

/* ------------------------------------------------------------------ many runs */
typedef struct plan_t {
    const char *self;               /* how this program was called */
    uint64_t first, seeds, stop;    /* stop: after so many failures */
    double until_s;                 /* 0: until the seeds are through */
    uint64_t results;               /* TAP lines so far */
} plan_t;

/* A run that does not end is killed: by its own time, not by what else the machine does. */
static void limit_cpu(void)
{
    struct itimerval t;
    memset(&t, 0, sizeof t);
    t.it_value.tv_sec = LIMIT_S;
    setitimer(ITIMER_PROF, &t, NULL);
}

/* Runs the seeds from `next` on, until one fails. */
static void run_some(const plan_t *p, uint64_t next)
{
    for (; next - p->first < p->seeds; next++) {
        if (p->until_s > 0 && seconds() >= p->until_s) break;
        tally->seed = next;
        limit_cpu();
        run(next);
        tally->done++;
    }
}

static void tell_failure(plan_t *p, int status)
{
    char how[64] = "";
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF)
        snprintf(how, sizeof how, "no end within %d s of CPU time", LIMIT_S);
    else if (WIFSIGNALED(status)) snprintf(how, sizeof how, "killed by signal %d", WTERMSIG(status));
    else if (!tally->why[0]) snprintf(how, sizeof how, "exit status %d", WEXITSTATUS(status));
    printf("not ok %llu - %s --seed %llu: %s%s\n", (llu_t)++p->results, p->self,
           (llu_t)tally->seed, tally->why, how);
}

/* Each failure ends a child; the next one goes on behind the seed that failed. */
static void run_all(plan_t *p)
{
    uint64_t next = p->first;
    while (tally->failed < p->stop && next - p->first < p->seeds) {
        int status = 0;
        pid_t child;
        fflush(stdout);
        tally->why[0] = '\0';
        child = fork();
        if (child < 0) abort();
        if (child == 0) {
            run_some(p, next);
            fflush(stdout);
            _exit(0);
        }
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
        tally->failed++;
        tell_failure(p, status);
        next = tally->seed + 1;
    }
}

static int report(plan_t *p, double took)
{
    unsigned zero = tally_print();
    bool enough = tally->done >= SEEDS;
    printf("# %llu seeds in %.1f s\n", (llu_t)(tally->done + tally->failed), took);
    if (tally->failed == 0)
        printf("ok %llu - %llu seeds keep every promise\n", (llu_t)++p->results,
               (llu_t)tally->done);
    printf("%sok %llu - each action, fault, answer and notice happened%s\n", zero && enough ? "not " : "",
           (llu_t)++p->results, enough ? "" : " # SKIP too few seeds for it");
    printf("1..%llu\n", (llu_t)p->results);
    return tally->failed || (zero && enough);
}

static void usage(const char *self)
{
    printf("usage: %s [--seeds N] [--first S] [--seed S] [--hours H] [--stop N] [--verbose]\n"
           "  --seeds N    how many seeds [%d; under valgrind 60; with --hours as many as fit]\n"
           "  --first S    the first one [1]\n"
           "  --seed S     this one alone; with SIM_ABORT set in this process, which aborts where it fails\n"
           "  --hours H    seeds for so long\n"
           "  --stop N     end after so many seeds that fail [20]\n"
           "  --verbose    print each action, fault, answer and notice with its time\n",
           self, SEEDS);
}

static uint64_t number(const char *self, const char *text)
{
    char *end = NULL;
    uint64_t n = text ? strtoull(text, &end, 10) : 0;
    if (!text || !*text || *end) {
        usage(self);
        exit(2);
    }
    return n;
}

static plan_t options(int argc, char **argv)
{
    plan_t p = { argv[0], 1, SEEDS / fewer(), 20, 0, 0 };
    int i;
    for (i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--verbose") == 0) {
            verbose = true;
            continue;
        }
        if (strcmp(argv[i], "--seeds") == 0) p.seeds = number(p.self, value);
        else if (strcmp(argv[i], "--first") == 0) p.first = number(p.self, value);
        else if (strcmp(argv[i], "--stop") == 0) p.stop = number(p.self, value);
        else if (strcmp(argv[i], "--seed") == 0) p.first = number(p.self, value), p.seeds = 1;
        else if (strcmp(argv[i], "--hours") == 0 && value) {
            p.until_s = seconds() + strtod(value, NULL) * 3600;
            p.seeds = UINT64_MAX;
        } else {
            usage(p.self);
            exit(strcmp(argv[i], "--help") == 0 ? 0 : 2);
        }
        i++;
    }
    return p;
}

int main(int argc, char **argv)
{
    plan_t p = options(argc, argv);
    struct timespec a, b;
    tally_open();
    clock_gettime(CLOCK_MONOTONIC, &a);
    if (getenv("SIM_ABORT")) run_some(&p, p.first);
    else run_all(&p);
    clock_gettime(CLOCK_MONOTONIC, &b);
    return report(&p, (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9);
}
