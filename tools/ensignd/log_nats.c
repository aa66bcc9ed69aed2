/* log_nats.c - the engine of log.h on NATS JetStream: the start, streams, followers; see nats_engine.h
 *
 * Holds  each project whose stream is known has one follower, which begins behind the last event that was
 *        known then: so `last` is as young as the network allows, whichever node appended.
 * Fails  at the start, with what to change: nobody answers, JetStream is off, a server that is too old, or
 *        one that takes no large messages. Later, each request fails for itself, and the front asks again. */
#include "nats_engine.h"
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPEN_MS 10000                   /* for each step of the start */
#define PAYLOAD_LEAST 4718592           /* 4.5 MiB: an event of 4 MiB, and what is about it */
#define PURGE_MS 20000
#define REPLICAS_MANY 3
#define WINDOW_MS_DEFAULT 120000

struct nats_destroy_t {
    nats_t         *engine;
    log_destroy_t  *r;
    nats_project_t *project;
    uint64_t        request;
    nats_destroy_t *next, **back;
};

static struct { const char *prefix; int replicas; int64_t window_ms; } rules = {
    "ensign", 0, WINDOW_MS_DEFAULT
};

void log_nats_set(const char *prefix, int replicas, int64_t window_ms)
{
    rules.prefix = prefix;
    rules.replicas = replicas;
    rules.window_ms = window_ms > 0 ? window_ms : WINDOW_MS_DEFAULT;
}

uint64_t nats_api(nats_t *e, const char *what, const char *stream, const char *body, int64_t limit,
                  nats_reply_fn_t *done, void *user)
{
    char subject[NATS_SUBJECT_BYTES];
    nats_out_t out = { subject, slice_text(body), NULL, 0 };

    snprintf(subject, sizeof subject, "$JS.API.%s.%s", what, stream);
    return nats_ask(e->link, &out, limit, done, user, 0);
}

/* ---- events */

void nats_project_last(nats_project_t *p, uint64_t sequence)
{
    if (sequence > p->last) p->last = sequence;
}

bool nats_event_of(const nats_project_t *p, const char *subject, uint64_t sequence, uint64_t when,
                   ensign_slice_t value, log_event_t *out)
{
    size_t n = strlen(p->subject);

    if (strlen(subject) != n + 1 + ULID_TEXT || memcmp(subject, p->subject, n) != 0) return false;
    if (!ulid_parse(slice_of(subject + n + 1, ULID_TEXT), &out->topic)) return false;
    out->offset = sequence;
    out->id = rlid_make((int64_t)(when / 1000000), (uint32_t)sequence);
    out->committed.seconds = (int64_t)(when / 1000000000);
    out->committed.nanos = (int32_t)(when % 1000000000);
    out->value = value;
    return true;
}

static void on_events(void *project)
{
    nats_project_t *p = project;
    const delivered_t *d;
    log_event_t event;

    while ((d = consumer_first(p->follower)) != NULL) {
        nats_project_last(p, d->sequence);
        if (p->followed &&
            nats_event_of(p, d->message.subject, d->sequence, d->when, d->message.data, &event))
            log_told(p->engine->front, &p->id, &event, 1);
        consumer_drop_first(p->follower);
    }
}

static void open_follower(nats_project_t *p)
{
    consumer_rules_t r;

    memset(&r, 0, sizeof r);
    r.stream = p->stream;
    r.begin = BEGIN_BEHIND;
    r.behind = p->last;
    r.live = true;
    r.changed = on_events;
    r.user = p;
    p->follower = consumer_open(&p->engine->consumers, &r);
}

/* ---- projects */

static char *joined(const char *a, char between, const char *b)
{
    size_t n = strlen(a) + strlen(b) + 2;
    char *text = x_alloc(n);

    snprintf(text, n, "%s%c%s", a, between, b);
    return text;
}

nats_project_t *nats_project(nats_t *e, const ulid_t *id)
{
    char text[ULID_TEXT + 1];
    nats_project_t *p;

    for (size_t i = 0; i < e->project_count; i++)
        if (ulid_eq(&e->projects[i]->id, id)) return e->projects[i];
    p = x_alloc(sizeof *p);
    e->projects = x_realloc(e->projects, (e->project_count + 1) * sizeof *e->projects);
    e->projects[e->project_count++] = p;
    ulid_text(id, text);
    p->engine = e;
    p->id = *id;
    p->stream = joined(e->prefix, '_', text);
    p->subject = joined(e->prefix, '.', text);
    p->appends_end = &p->appends;
    return p;
}

static void project_free(nats_project_t *p)
{
    nats_appends_free(p);
    free(p->stream);
    free(p->subject);
    free(p);
}

void nats_forget_stream(nats_project_t *p)
{
    if (p->state == PROJECT_KNOWN) p->state = PROJECT_UNKNOWN;
}

static void destroys_resolved(nats_project_t *p, const char *why);

static void resolve(nats_project_t *p, project_state_t state, const char *why)
{
    p->state = state;
    p->make = false;
    nats_appends_resolved(p, why);
    nats_reads_resolved(p, why);
    destroys_resolved(p, why);
    nats_puts_resolved(p, why);
}

/* A stream that was made anew has nothing of the one before. */
static void set_known(nats_project_t *p, const nats_answer_t *a)
{
    if (p->epoch != a->created) {
        consumer_close(p->follower);
        p->follower = NULL;
        p->epoch = a->created;
        p->last = 0;
    }
    nats_project_last(p, a->last);
    p->replicas = a->replicas;
    if (!p->follower) open_follower(p);
    resolve(p, PROJECT_KNOWN, "");
}

static bool ask_stream(nats_project_t *p);

static bool on_stream_made(void *user, uint64_t number, nats_message_t *m)
{
    nats_project_t *p = user;
    nats_answer_t a;

    (void)number;
    nats_answer_read(m, &a);
    if (a.code == NATS_NO_PEERS)
        snprintf(a.text, sizeof a.text, "NATS has too few servers for %d replicas; start the others, or "
                 "lower --replicas", p->engine->replicas);
    if (a.code && a.code != NATS_STREAM_EXISTS) resolve(p, PROJECT_UNKNOWN, a.text);
    else if (!ask_stream(p)) resolve(p, PROJECT_UNKNOWN, NATS_UNREACHED);
    return false;
}

static bool make_stream(nats_project_t *p)
{
    char body[2 * NATS_SUBJECT_BYTES];
    const nats_t *e = p->engine;

    snprintf(body, sizeof body, "{\"name\":\"%s\",\"subjects\":[\"%s.*\"],\"storage\":\"file\","
             "\"retention\":\"limits\",\"num_replicas\":%d,\"allow_direct\":true,"
             "\"duplicate_window\":%" PRId64 "000000}", p->stream, p->subject, e->replicas, e->window_ms);
    return nats_api(p->engine, "STREAM.CREATE", p->stream, body, NATS_API_MS, on_stream_made, p) != 0;
}

static bool on_stream(void *user, uint64_t number, nats_message_t *m)
{
    nats_project_t *p = user;
    nats_answer_t a;

    (void)number;
    nats_answer_read(m, &a);
    if (!a.code) set_known(p, &a);
    else if (a.code != NATS_NO_STREAM) resolve(p, PROJECT_UNKNOWN, a.text);
    else if (!p->make) resolve(p, PROJECT_MISSING, "");
    else if (!make_stream(p)) resolve(p, PROJECT_UNKNOWN, NATS_UNREACHED);
    return false;
}

static bool ask_stream(nats_project_t *p)
{
    return nats_api(p->engine, "STREAM.INFO", p->stream, "", NATS_API_MS, on_stream, p) != 0;
}

project_state_t nats_ensure(nats_project_t *p, bool make)
{
    if (p->state == PROJECT_KNOWN) return p->state;
    p->make = p->make || make;
    if (p->state != PROJECT_ASKED) p->state = ask_stream(p) ? PROJECT_ASKED : PROJECT_UNKNOWN;
    return p->state;
}

/* ---- destruction */

static void destroy_free(nats_destroy_t *x)
{
    nats_forget(x->engine->link, x->request);
    *x->back = x->next;
    if (x->next) x->next->back = x->back;
    free(x);
}

static void answer_destroy(nats_destroy_t *x, log_result_t result, const char *why)
{
    log_request_t *r = &x->r->base;
    log_t *front = x->engine->front;

    destroy_free(x);
    log_answer(front, r, result, why);
}

static bool on_purged(void *user, uint64_t number, nats_message_t *m)
{
    nats_destroy_t *x = user;
    nats_answer_t a;

    (void)number;
    x->request = 0;
    nats_answer_read(m, &a);
    answer_destroy(x, a.code ? LOG_FAILED : LOG_OK, a.text);
    return false;
}

static void go_on_destroying(nats_destroy_t *x, project_state_t state, const char *why)
{
    char body[NATS_SUBJECT_BYTES], topic[ULID_TEXT + 1];

    if (state == PROJECT_ASKED) return;
    if (state != PROJECT_KNOWN) {
        answer_destroy(x, state == PROJECT_MISSING ? LOG_OK : LOG_FAILED, why);
        return;
    }
    ulid_text(&x->r->topic, topic);
    snprintf(body, sizeof body, "{\"filter\":\"%s.%s\"}", x->project->subject, topic);
    x->request = nats_api(x->engine, "STREAM.PURGE", x->project->stream, body, PURGE_MS, on_purged, x);
    if (!x->request) answer_destroy(x, LOG_FAILED, NATS_UNREACHED);
}

static void nats_destroy(void *engine, log_destroy_t *r)
{
    nats_t *e = engine;
    nats_destroy_t *x = x_alloc(sizeof *x);

    x->engine = e;
    x->r = r;
    x->project = nats_project(e, &r->project);
    x->next = e->destroys;
    x->back = &e->destroys;
    if (x->next) x->next->back = &x->next;
    e->destroys = x;
    go_on_destroying(x, nats_ensure(x->project, false), NATS_UNREACHED);
}

static void destroys_resolved(nats_project_t *p, const char *why)
{
    nats_destroy_t *next;

    for (nats_destroy_t *x = p->engine->destroys; x; x = next) {
        next = x->next;
        if (x->project == p && !x->request) go_on_destroying(x, p->state, why);
    }
}

static bool destroy_cancel(nats_t *e, const log_request_t *r)
{
    for (nats_destroy_t *x = e->destroys; x; x = x->next) {
        if (&x->r->base != r) continue;
        destroy_free(x);
        return true;
    }
    return false;
}

/* ---- the start */

static void on_loose_message(void *user, nats_message_t *m)
{
    nats_t *e = user;
    consumers_give(&e->consumers, m);
}

static void on_link(void *user)
{
    (void)user;     /* what was asked for has failed by now, and is asked for again */
}

static void engine_run(void *engine)
{
    nats_t *e = engine;

    nats_pages_age(e);
    nats_link_run(e->link);
    consumers_run(&e->consumers);
    if (e->watch_again && now_ms() >= e->watch_again) nats_watch_run(e);
}

/* Waits for NATS, a tenth of a second at most. */
static void wait_for(nats_t *e)
{
    struct pollfd p;

    p.fd = nats_link_fd(e->link);
    p.events = POLLIN;
    p.revents = 0;
    poll(&p, 1, 100);
    engine_run(e);
}

typedef struct answered_t { nats_answer_t *a; bool here; } answered_t;

static bool on_answer(void *user, uint64_t number, nats_message_t *m)
{
    answered_t *x = user;

    (void)number;
    nats_answer_read(m, x->a);
    x->here = true;
    return false;
}

/* Asks, and waits for the answer. */
static void ask_once(nats_t *e, const char *what, const char *stream, const char *body, nats_answer_t *a)
{
    answered_t x = { a, false };

    if (!nats_api(e, what, stream, body, NATS_API_MS, on_answer, &x)) {
        nats_answer_read(NULL, a);
        wait_for(e);
        return;
    }
    while (!x.here) wait_for(e);
}

static bool may_pass_by(int code)
{
    return code == NATS_SILENT || code == NATS_NOBODY || code == NATS_UNAVAILABLE;
}

/* A cluster that has just begun has no leader yet: it is asked again. */
static void ask_now(nats_t *e, const char *what, const char *stream, const char *body, nats_answer_t *a)
{
    int64_t end = now_ms() + OPEN_MS, again;

    for (ask_once(e, what, stream, body, a); may_pass_by(a->code) && now_ms() < end;
         ask_once(e, what, stream, body, a))
        for (again = now_ms() + NATS_AGAIN_MS; now_ms() < again;) wait_for(e);
}

static bool refuse(const char *where, const nats_answer_t *a, why_t *why)
{
    if (a->code == NATS_NOBODY || a->code == NATS_NO_JETSTREAM || a->code == NATS_NO_JETSTREAM_HERE)
        return fail(why, "--store %s: JetStream is off there, or has no leader; start nats-server with -js, "
                         "and enough servers of its cluster", where);
    if (a->code == NATS_NO_PEERS || a->code == NATS_NO_CLUSTER)
        return fail(why, "--store %s: NATS has too few servers for so many replicas; start the others, or "
                         "lower --replicas", where);
    return fail(why, "--store %s: NATS refuses the bucket of metadata: %s; see nats-server's log", where,
                a->text);
}

static bool make_bucket(nats_t *e, const char *stream, const char *where, nats_answer_t *a, why_t *why)
{
    char body[3 * NATS_SUBJECT_BYTES];

    if (e->mode == LOG_READ)
        return fail(why, "--store %s holds nothing of ensignd; name the servers of one", where);
    snprintf(body, sizeof body, "{\"name\":\"%s\",\"subjects\":[\"$KV.%s.>\"],\"storage\":\"file\","
             "\"retention\":\"limits\",\"num_replicas\":%d,\"allow_direct\":true,\"max_msgs_per_subject\":1,"
             "\"discard\":\"new\",\"deny_delete\":true,\"allow_rollup_hdrs\":true,"
             "\"duplicate_window\":%" PRId64 "000000}", stream, e->prefix, e->replicas, e->window_ms);
    ask_now(e, "STREAM.CREATE", stream, body, a);
    if (a->code && a->code != NATS_STREAM_EXISTS) return refuse(where, a, why);
    ask_now(e, "STREAM.INFO", stream, "", a);
    return a->code == 0 || refuse(where, a, why);
}

/* New streams have as many replicas as the bucket has, where --replicas does not say: so all nodes agree. */
static bool open_bucket(nats_t *e, const char *where, nats_answer_t *a, why_t *why)
{
    char stream[NATS_SUBJECT_BYTES];
    bool told = e->replicas > 0;

    snprintf(stream, sizeof stream, "KV_%s", e->prefix);
    if (!told) e->replicas = nats_link_servers(e->link) >= REPLICAS_MANY ? REPLICAS_MANY : 1;
    ask_now(e, "STREAM.INFO", stream, "", a);
    if (a->code == NATS_NO_STREAM && !make_bucket(e, stream, where, a, why)) return false;
    if (a->code) return refuse(where, a, why);
    if (!a->modern)
        return fail(why, "--store %s: nats-server there is older than 2.10; install a newer one", where);
    if (!told) e->replicas = a->replicas;
    return true;
}

static bool check_payload(const nats_t *e, const char *where, why_t *why)
{
    int64_t most = nats_link_max_payload(e->link);

    return most >= PAYLOAD_LEAST ||
           fail(why, "--store %s: NATS takes messages of %" PRId64 " bytes at most, and an event can have %d; "
                     "put max_payload: 8MB into nats-server's configuration", where, most, PAYLOAD_LEAST);
}

/* Until the front knows all records that there are. */
static bool load(nats_t *e, const char *where, uint64_t last, why_t *why)
{
    uint64_t before = 0;
    int64_t end = now_ms() + OPEN_MS;

    nats_watch_open(e);
    while (e->watched < last || consumer_state(e->watch) != CONSUMER_OPEN) {
        if (now_ms() >= end)
            return fail(why, "--store %s: NATS did not give the metadata in time; see nats-server's log",
                        where);
        wait_for(e);
        if (e->watched > before) end = now_ms() + OPEN_MS;
        before = e->watched;
    }
    return true;
}

static bool come_up(nats_t *e, const char *where, const char *shown, why_t *why)
{
    nats_hooks_t hooks = { on_loose_message, on_link, e };
    nats_answer_t a;

    e->link = nats_link_open(where, shown, &hooks, OPEN_MS, why);
    if (!e->link) return false;
    consumers_open(&e->consumers, e->link);
    return check_payload(e, shown, why) && open_bucket(e, shown, &a, why) && load(e, shown, a.last, why);
}

static void engine_close(void *engine)
{
    nats_t *e = engine;

    if (e->link) {
        nats_puts_free(e);
        nats_reads_free(e);
        while (e->destroys) destroy_free(e->destroys);
        consumers_close(&e->consumers);
        nats_link_close(e->link);
    }
    for (size_t i = 0; i < e->project_count; i++) project_free(e->projects[i]);
    free(e->projects);
    free(e->prefix);
    free(e);
}

static void *engine_open(log_t *front, const char *where, log_mode_t mode, why_t *why)
{
    nats_t *e = x_alloc(sizeof *e);
    char *shown = nats_servers_shown(where);
    bool up;

    e->front = front;
    e->mode = mode;
    e->prefix = x_strdup(rules.prefix);
    e->replicas = rules.replicas;
    e->window_ms = rules.window_ms;
    up = come_up(e, where, shown, why);
    free(shown);
    if (up) return e;
    engine_close(e);
    return NULL;
}

/* ---- the engine */

static void nats_amend(void *engine, log_amend_t *r)
{
    nats_t *e = engine;
    log_answer(e->front, &r->base, LOG_UNSUPPORTED, NULL);
}

static void engine_cancel(void *engine, log_request_t *r)
{
    nats_t *e = engine;

    if (!nats_append_cancel(e, r) && !nats_read_cancel(e, r) && !nats_put_cancel(e, r)) destroy_cancel(e, r);
}

static void engine_follow(void *engine, const ulid_t *id)
{
    nats_project_t *p = nats_project(engine, id);

    p->followed = true;
    nats_ensure(p, false);
}

static int engine_fd(const void *engine)
{
    const nats_t *e = engine;
    return nats_link_fd(e->link);
}

static int64_t engine_due(const void *engine)
{
    const nats_t *e = engine;
    int64_t each[3] = { nats_link_due(e->link), consumers_due(&e->consumers), e->watch_again }, due = 0;

    for (size_t i = 0; i < 3; i++)
        if (each[i] && (!due || each[i] < due)) due = each[i];
    return due;
}

/* 1: nothing is known of its stream, and nothing of it was given out. */
static uint64_t engine_epoch(void *engine, const ulid_t *id)
{
    const nats_project_t *p = nats_project(engine, id);
    return p->epoch ? p->epoch : 1;
}

static uint64_t engine_last(void *engine, const ulid_t *id)
{
    return nats_project(engine, id)->last;
}

const log_engine_t log_nats = {
    "NATS", false, true, engine_open, nats_append, nats_read, nats_amend, nats_destroy, nats_put,
    engine_cancel, engine_follow, engine_run, engine_fd, engine_due, engine_epoch, engine_last, engine_close
};
