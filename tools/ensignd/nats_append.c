/* nats_append.c - appends to the streams of NATS; see nats_engine.h
 *
 * Holds  a project's events are published in order, WINDOW of them without an answer at most. Each has an
 *        id that is the same when it is published again, so the stream stores it once. Behind the first
 *        publish that fails, nothing more goes to that stream. When all that is in flight has its answer,
 *        or its limit is over, the project's appends fail in order; the front hands them over again in
 *        order, and what has an offset by then is not sent again. So an event is stored in front of an
 *        earlier one only where the stream lost that one among those in flight.
 * Moves  asked -> the stream is known -> sent -> all answered -> answered in order. */
#include "nats_engine.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PUBLISH_MS 4000                 /* without an answer it has failed, as far as is known */
#define WINDOW_EVENTS 4096
#define ID_BYTES 64                     /* of Nats-Msg-Id */

struct nats_append_t {
    nats_project_t *project;
    log_append_t   *r;                  /* NULL: cancelled */
    size_t          next, left, flying; /* the next to be sent; without an offset; without an answer */
    nats_append_t  *behind;
};

static nats_append_t *take_first(nats_project_t *p)
{
    nats_append_t *a = p->appends;

    p->appends = a->behind;
    if (!p->appends) p->appends_end = &p->appends;
    return a;
}

static void fail_all(nats_project_t *p)
{
    why_t why = p->why;

    p->failing = false;
    while (p->appends) {
        nats_append_t *a = take_first(p);
        log_append_t *r = a->r;
        free(a);
        if (r) log_answer(p->engine->front, &r->base, LOG_FAILED, why.text);
    }
}

static void answer_first(nats_project_t *p)
{
    nats_append_t *a = take_first(p);
    log_append_t *r = a->r;

    free(a);
    if (!r) return;
    wall_now(&r->committed.seconds, &r->committed.nanos);
    log_answer(p->engine->front, &r->base, LOG_OK, NULL);
}

static void pump(nats_project_t *p);

static bool is_done(const nats_append_t *a)
{
    return a->flying == 0 && (!a->r || a->left == 0);
}

/* Behind each answer. */
static void settle(nats_project_t *p)
{
    if (p->failing && p->flying == 0) {
        fail_all(p);
        return;
    }
    while (p->appends && is_done(p->appends)) answer_first(p);
    if (!p->failing) pump(p);
}

static void begin_to_fail(nats_project_t *p, const nats_answer_t *answer)
{
    if (!p->failing) fail(&p->why, "NATS did not store an event: %s", answer->text);
    p->failing = true;
    if (answer->code != NATS_SILENT) nats_forget_stream(p);
}

static bool on_stored(void *user, uint64_t index, nats_message_t *m)
{
    nats_append_t *a = user;
    nats_project_t *p = a->project;
    nats_answer_t answer;

    nats_answer_read(m, &answer);
    if (!answer.code && !answer.sequence) answer.code = NATS_UNREAD;
    p->flying--;
    a->flying--;
    if (answer.code) {
        begin_to_fail(p, &answer);
    } else {
        nats_project_last(p, answer.sequence);
        if (a->r) a->r->events[index].offset = answer.sequence;
        a->left--;
    }
    settle(p);
    return false;
}

/* Nats-Msg-Id: the caller's key, or the request's and the event's number in this process. */
static void make_id(const nats_append_t *a, const log_new_t *n, char id[ID_BYTES])
{
    if (n->key.len && n->key.len <= LOG_KEY_MOST)
        base64url(n->key, id);
    else
        snprintf(id, ID_BYTES, "%s-%" PRIu64 "-%zu", nats_link_nonce(a->project->engine->link),
                 a->r->base.serial, a->next);
}

static bool publish(nats_append_t *a, const log_new_t *n)
{
    nats_project_t *p = a->project;
    char subject[NATS_SUBJECT_BYTES], topic[ULID_TEXT + 1], id[ID_BYTES];
    nats_header_t header = { "Nats-Msg-Id", id };
    nats_out_t out = { subject, n->value, &header, 1 };

    ulid_text(&n->topic, topic);
    snprintf(subject, sizeof subject, "%s.%s", p->subject, topic);
    make_id(a, n, id);
    if (!nats_ask(p->engine->link, &out, PUBLISH_MS, on_stored, a, a->next)) return false;
    p->flying++;
    a->flying++;
    return true;
}

static bool has_room(const nats_project_t *p)
{
    return p->flying < WINDOW_EVENTS;
}

/* False: it failed. */
static bool send_some(nats_append_t *a)
{
    nats_project_t *p = a->project;

    for (; a->r && a->next < a->r->count && has_room(p); a->next++) {
        const log_new_t *n = &a->r->events[a->next];
        if (!n->offset && !publish(a, n)) return false;
    }
    return true;
}

static void pump(nats_project_t *p)
{
    if (p->state != PROJECT_KNOWN) return;
    for (nats_append_t *a = p->appends; a && has_room(p); a = a->behind) {
        if (send_some(a)) continue;
        fail(&p->why, NATS_UNREACHED);
        p->failing = true;
        if (p->flying == 0) fail_all(p);
        return;
    }
}

void nats_append(void *engine, log_append_t *r)
{
    nats_project_t *p = nats_project(engine, &r->project);
    nats_append_t *a;

    if (!nats_link_up(p->engine->link)) {
        log_answer(p->engine->front, &r->base, LOG_FAILED, NATS_UNREACHED);
        return;
    }
    a = x_alloc(sizeof *a);
    a->project = p;
    a->r = r;
    for (size_t i = 0; i < r->count; i++) a->left += !r->events[i].offset;
    *p->appends_end = a;
    p->appends_end = &a->behind;
    if (p->failing) return;
    if (nats_ensure(p, true) != PROJECT_ASKED) nats_appends_resolved(p, NATS_UNREACHED);
}

void nats_appends_resolved(nats_project_t *p, const char *why)
{
    if (p->state == PROJECT_KNOWN) {
        settle(p);
    } else if (p->appends && p->flying == 0) {
        fail(&p->why, "%s", why);
        fail_all(p);
    } else if (p->appends) {
        fail(&p->why, "%s", why);
        p->failing = true;
    }
}

bool nats_append_cancel(nats_t *e, const log_request_t *r)
{
    for (size_t i = 0; i < e->project_count; i++)
        for (nats_append_t *a = e->projects[i]->appends; a; a = a->behind) {
            if (!a->r || &a->r->base != r) continue;
            a->r = NULL;
            return true;
        }
    return false;
}

void nats_appends_free(nats_project_t *p)
{
    while (p->appends) free(take_first(p));
}
