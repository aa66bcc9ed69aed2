/* nats_records.c - the metadata in NATS; see nats_engine.h
 *
 * Holds  the front has heard of the records in order of their revisions, up to `watched`; one that was
 *        replaced before it came is left out. A record of a topic waits until the project's stream is
 *        known, and with it all behind it. A put has an id that is the same when it is published again, so
 *        it is stored once. It is answered when the front knows the revision that it made, or the one that
 *        was there before it.
 * Moves  asked -> (the stream of a topic's project is known) -> published -> WATCHED, done or changed ->
 *        answered. A record that was removed is there as a message: a put that wants none is published
 *        again, in the place of that. */
#include "nats_engine.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOPIC_KEY "topic/"              /* a project's ULID stands behind it: see topics.h */
#define TRIES_MOST 3

typedef enum { PUT_WAITS, PUT_SENT, PUT_STORED, PUT_REFUSED } put_state_t;

struct nats_put_t {
    nats_t         *engine;
    log_put_t      *r;
    put_state_t     state;
    nats_project_t *project;            /* of a topic's record; else NULL */
    uint64_t        request;
    uint64_t        expected;           /* the revision that is to be there; LOG_ANY_REVISION */
    uint64_t        revision;           /* STORED: its own; REFUSED: the one that was there */
    int             tries;
    nats_put_t     *next, **back;
};

/* ---- puts */

static void put_free(nats_put_t *x)
{
    nats_forget(x->engine->link, x->request);
    *x->back = x->next;
    if (x->next) x->next->back = x->back;
    free(x);
}

static void answer(nats_put_t *x, log_result_t result, const char *why)
{
    log_put_t *r = x->r;
    log_t *front = x->engine->front;

    if (result == LOG_OK) r->revision = x->revision;
    put_free(x);
    log_answer(front, &r->base, result, why);
}

static bool on_put(void *user, uint64_t number, nats_message_t *m);

/* The message of a removed record has no data, and KV-Operation for other programs. */
static bool publish(nats_put_t *x)
{
    nats_t *e = x->engine;
    char id[NATS_SUBJECT_BYTES], expected[32], *token = nats_key_token(x->r->key);
    size_t n = strlen(e->prefix) + strlen(token) + sizeof "$KV..";
    char *subject = x_alloc(n);
    nats_header_t headers[3] = { { "Nats-Msg-Id", id }, { NULL, NULL }, { NULL, NULL } };
    nats_out_t out = { subject, x->r->value, headers, 1 };

    snprintf(subject, n, "$KV.%s.%s", e->prefix, token);
    snprintf(id, sizeof id, "%s-put-%" PRIu64, nats_link_nonce(e->link), x->r->base.serial);
    if (x->expected != LOG_ANY_REVISION) {
        snprintf(expected, sizeof expected, "%" PRIu64, x->expected);
        headers[out.header_count].name = "Nats-Expected-Last-Subject-Sequence";
        headers[out.header_count++].value = expected;
    }
    if (x->r->value.len == 0) {
        headers[out.header_count].name = "KV-Operation";
        headers[out.header_count++].value = "DEL";
    }
    x->state = PUT_SENT;
    x->request = nats_ask(e->link, &out, NATS_API_MS, on_put, x, 0);
    free(subject);
    free(token);
    return x->request != 0;
}

/* The front knows the record that refused it. Where that is one that was removed, and none was wanted, it is
   the one to be replaced. */
static void settle_refused(nats_put_t *x)
{
    bool there = log_get(x->engine->front, x->r->key, NULL, NULL);

    if (x->r->revision != 0 || there || x->revision == x->expected || x->tries >= TRIES_MOST) {
        answer(x, LOG_CHANGED, NULL);
        return;
    }
    x->tries++;
    x->expected = x->revision;
    if (!publish(x)) answer(x, LOG_FAILED, NATS_UNREACHED);
}

/* Answers one that may be answered by now. False: there is none. */
static bool settle_one(nats_t *e)
{
    for (nats_put_t *x = e->puts; x; x = x->next) {
        if (x->state < PUT_STORED || x->revision > e->watched) continue;
        if (x->state == PUT_STORED) answer(x, LOG_OK, NULL);
        else settle_refused(x);
        return true;
    }
    return false;
}

static bool on_put(void *user, uint64_t number, nats_message_t *m)
{
    nats_put_t *x = user;
    nats_t *e = x->engine;
    nats_answer_t a;

    (void)number;
    x->request = 0;
    nats_answer_read(m, &a);
    if (a.code == 0 && a.sequence) x->state = PUT_STORED;
    else if (a.code == NATS_WRONG_SEQUENCE) x->state = PUT_REFUSED;
    x->revision = a.sequence;
    if (x->state == PUT_SENT) answer(x, LOG_FAILED, a.code ? a.text : "NATS gave no sequence");
    else while (settle_one(e)) {}
    return false;
}

/* NULL: it is no topic's. */
static nats_project_t *project_of_key(nats_t *e, ensign_slice_t key)
{
    size_t n = sizeof TOPIC_KEY - 1;
    ulid_t id;

    if (key.len < n + sizeof id.b || memcmp(key.ptr, TOPIC_KEY, n) != 0) return NULL;
    memcpy(id.b, key.ptr + n, sizeof id.b);
    return nats_project(e, &id);
}

/* A new one stands last: of those that race, the first one is published first. */
static nats_put_t *put_new(nats_t *e, log_put_t *r)
{
    nats_put_t *x = x_alloc(sizeof *x), **end = &e->puts;

    while (*end) end = &(*end)->next;
    x->engine = e;
    x->r = r;
    x->expected = r->revision;
    x->back = end;
    *end = x;
    return x;
}

static void go_on(nats_put_t *x, project_state_t state, const char *why)
{
    if (state == PROJECT_ASKED) return;
    if (state != PROJECT_KNOWN) answer(x, LOG_FAILED, why);
    else if (!publish(x)) answer(x, LOG_FAILED, NATS_UNREACHED);
}

void nats_put(void *engine, log_put_t *r)
{
    nats_t *e = engine;
    nats_put_t *x = put_new(e, r);
    project_state_t state = PROJECT_KNOWN;

    if (r->value.len) x->project = project_of_key(e, r->key);
    if (x->project) state = nats_ensure(x->project, true);
    go_on(x, state, NATS_UNREACHED);
}

void nats_puts_resolved(nats_project_t *p, const char *why)
{
    nats_put_t *next;

    for (nats_put_t *x = p->engine->puts; x; x = next) {
        next = x->next;
        if (x->project == p && x->state == PUT_WAITS) go_on(x, p->state, why);
    }
    nats_watch_run(p->engine);
}

bool nats_put_cancel(nats_t *e, const log_request_t *r)
{
    for (nats_put_t *x = e->puts; x; x = x->next) {
        if (&x->r->base != r) continue;
        put_free(x);
        return true;
    }
    return false;
}

void nats_puts_free(nats_t *e)
{
    while (e->puts) put_free(e->puts);
}

/* ---- the watch */

static bool read_key(const nats_t *e, const delivered_t *d, buf_t *key)
{
    size_t n = sizeof "$KV." - 1 + strlen(e->prefix) + 1;

    if (strlen(d->message.subject) > n && nats_token_key(d->message.subject + n, key)) return true;
    log_line("NATS: the record %s is none of ensignd's", d->message.subject);
    return false;
}

/* False: it waits for the project's stream. */
static bool may_pass(nats_t *e, ensign_slice_t key, ensign_slice_t value)
{
    nats_project_t *p = value.len ? project_of_key(e, key) : NULL;
    project_state_t state = p ? nats_ensure(p, e->mode == LOG_WRITE) : PROJECT_KNOWN;

    e->watch_again = state == PROJECT_UNKNOWN ? now_ms() + NATS_AGAIN_MS : 0;
    return state == PROJECT_KNOWN || (state == PROJECT_MISSING && e->mode == LOG_READ);
}

/* Gives the first record. Those who hear of it may ask for more, and cancel what they asked for. */
static bool give_first(nats_t *e)
{
    delivered_t *d = consumer_first(e->watch);
    buf_t key = { NULL, 0, 0, 0 };
    bool passes = true;

    if (!d) return false;
    if (read_key(e, d, &key)) {
        passes = may_pass(e, buf_bytes(&key), d->message.data);
        if (passes) log_known(e->front, buf_bytes(&key), d->message.data, d->sequence);
    }
    buf_free(&key);
    if (!passes) return false;
    d = consumer_first(e->watch);
    e->watched = d->sequence;
    consumer_drop_first(e->watch);
    while (settle_one(e)) {}
    return true;
}

void nats_watch_run(void *engine)
{
    nats_t *e = engine;
    if (!e->watch) return;
    while (give_first(e)) {}
}

void nats_watch_open(nats_t *e)
{
    char stream[NATS_SUBJECT_BYTES], filter[NATS_SUBJECT_BYTES];
    consumer_rules_t rules;

    memset(&rules, 0, sizeof rules);
    snprintf(stream, sizeof stream, "KV_%s", e->prefix);
    snprintf(filter, sizeof filter, "\"$KV.%s.>\"", e->prefix);
    rules.stream = stream;
    rules.filters = filter;             /* NATS asks for one where the last of each subject is wanted */
    rules.begin = BEGIN_WITH_LAST;
    rules.live = true;
    rules.changed = nats_watch_run;
    rules.user = e;
    e->watch = consumer_open(&e->consumers, &rules);
}
