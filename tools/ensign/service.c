/* service.c - ensign status, health, info: how the server is, and what it counts */
#include "session.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- status */

static void print_status(const options_t *o, const ensign_notice_status_t *a)
{
    const char *state = session_name(ENSIGN_NAMES_SERVICE, a->state);
    char uptime[NUMBER_TEXT];

    if (o->json) {
        json_object(NULL);
        json_text("state", state);
        json_slice("version", a->version);
        json_number("uptime_seconds", (double)a->uptime_ms / 1000);
        json_close();
        return;
    }
    out_format("state    %s%s%s\n", out_color(a->state == ENSIGN_SERVICE_HEALTHY ? "32" : "31"), state,
               out_color("0"));
    out_text("version  ");
    out_safe(a->version, false);
    out_format("\nuptime   %s\n", text_duration((double)a->uptime_ms / 1000, uptime));
}

int run_status(const options_t *o)
{
    session_t s;
    const ensign_notice_t *n;

    if (session_open(&s, o, false)) {
        n = session_answer(&s, o->auth ? ensign_auth_status(s.c, NULL).id : ensign_status(s.c, NULL).id,
                           NULL);
        if (n) {
            print_status(o, &n->as.status);
            if (n->as.status.state != ENSIGN_SERVICE_HEALTHY) session_fail(&s, EXIT_FAILED);
        }
    }
    return session_end(&s);
}

/* ---- health */

static void print_health(const options_t *o, int state)
{
    const char *name = session_name(ENSIGN_NAMES_HEALTH, state);

    if (o->json) {
        json_object(NULL);
        json_text("state", name);
        json_close();
    } else {
        out_format("%s%s%s\n", out_color(state == ENSIGN_HEALTH_SERVING ? "32" : "31"), name, out_color("0"));
    }
}

/* For a service that it does not have Ensign says UNKNOWN, where others say NOT_FOUND. */
static int health_exit(const options_t *o, int state)
{
    if (state == ENSIGN_HEALTH_SERVICE_UNKNOWN) return EXIT_ABSENT;
    if (state == ENSIGN_HEALTH_UNKNOWN && o->service) return EXIT_ABSENT;
    return state == ENSIGN_HEALTH_SERVING ? EXIT_DONE : EXIT_FAILED;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Prints what comes until a signal, --count or the time ends it; the last state counts. */
static void watch(session_t *s, ensign_request_t r)
{
    const options_t *o = s->o;
    uint64_t start = ensign_now_ms(), count = 0;
    int state = -1;

    while (o->count == 0 || count < o->count) {
        const ensign_notice_t *n = session_pull(s);
        uint64_t gone = ensign_now_ms() - start;
        woke_t woke;
        if (n && n->type == ENSIGN_NOTICE_HEALTH) {
            print_health(o, state = n->as.health.state);
            count++;
        }
        if (n && n->type == ENSIGN_NOTICE_END && n->handle == r.id) {
            session_error(s, NULL, n->error);
            return;
        }
        if (n) continue;
        if (o->timeout_ms > 0 && gone >= o->timeout_ms) {
            if (state < 0) session_late(s, r.id);
            break;
        }
        woke = session_wait(s, -1, o->timeout_ms > 0 ? (int)least(o->timeout_ms - gone, 1000) : -1);
        if (woke == WOKE_STOP || woke == WOKE_OVER) return;
    }
    session_fail(s, count < o->count || state < 0 ? EXIT_LATE : health_exit(o, state));
}

int run_health(const options_t *o)
{
    session_t s;
    const ensign_notice_t *n;

    if (!o->watch && (o->count > 0 || o->timeout_ms > 0))
        return options_refuse(o,
                              "--count and --timeout belong to --watch; for one answer: --request-timeout");
    if (session_open(&s, o, o->watch)) {
        ensign_request_t r = ensign_health(s.c, o->service, o->watch, NULL);
        if (r.id == 0) {
            session_error(&s, NULL, ensign_error(s.c));
        } else if (o->watch) {
            watch(&s, r);
        } else if ((n = session_answer(&s, r.id, NULL)) != NULL) {
            print_health(o, n->as.health.state);
            session_fail(&s, health_exit(o, n->as.health.state));
        }
    }
    return session_end(&s);
}

/* ---- info */

static void json_counts(uint64_t events, uint64_t duplicates, uint64_t bytes)
{
    json_uint("events", events);
    json_uint("duplicates", duplicates);
    json_uint("bytes", bytes);
}

static void text_counts(uint64_t events, uint64_t duplicates, uint64_t bytes)
{
    char text[3][NUMBER_TEXT];

    out_format("%14s  %12s  %10s  ", text_number(events, text[0]), text_number(duplicates, text[1]),
               text_size((double)bytes, text[2]));
}

static void print_project(const options_t *o, const ensign_project_t *p)
{
    char id[27];

    ensign_ulid_text(p->id, id);
    if (o->json) {
        json_object(NULL);
        json_text("kind", "project");
        json_text("id", id);
        json_uint("topics", p->topics);
        json_uint("archived_topics", p->readonly_topics);
        json_counts(p->events, p->duplicates, p->data_bytes);
        json_close();
        return;
    }
    out_format("project %s: %" PRIu64 " topic%s, %" PRIu64 " of them archived\n", id, p->topics,
               p->topics == 1 ? "" : "s", p->readonly_topics);
    out_format("%s%14s  %12s  %10s  %s%s\n", out_color("1"), "EVENTS", "DUPLICATES", "SIZE", "TOPIC",
               out_color("0"));
    text_counts(p->events, p->duplicates, p->data_bytes);
    out_text("all\n");
}

static void print_topic_info(const options_t *o, const ensign_topic_info_t *t)
{
    char id[27];

    ensign_ulid_text(t->id, id);
    if (o->json) {
        json_object(NULL);
        json_text("kind", "topic");
        json_text("id", id);
        if (t->name.len > 0) json_slice("name", t->name);
        else json_null("name");
        json_counts(t->events, t->duplicates, t->data_bytes);
        json_time("modified", t->modified);
        json_close();
        return;
    }
    text_counts(t->events, t->duplicates, t->data_bytes);
    if (t->name.len > 0) out_safe(t->name, false);
    else out_text(id);
    out_text(t->modified.seconds == 0 ? "  (not counted yet)\n" : "\n");
}

static void print_type_info(const options_t *o, const ensign_type_info_t *t)
{
    char version[40];

    snprintf(version, sizeof version, "%" PRIu32 ".%" PRIu32 ".%" PRIu32, t->type.major, t->type.minor,
             t->type.patch);
    if (o->json) {
        json_object(NULL);
        json_text("kind", "type");
        json_slice("name", t->type.name);
        json_text("version", version);
        json_text("mimetype", ensign_mime_name(t->mimetype));
        json_int("mimetype_number", t->mimetype);
        json_counts(t->events, t->duplicates, t->data_bytes);
        json_close();
        return;
    }
    text_counts(t->events, t->duplicates, t->data_bytes);
    out_text("    ");
    out_safe(t->type.name, false);
    out_format(" %s, %s\n", version, ensign_mime_name(t->mimetype));
}

/* An answer of ensign_info has ids; the names come into the client's topic cache with a list. */
static bool learn_names(session_t *s)
{
    const ensign_notice_t *end;
    ensign_request_t r = ensign_topic_list(s->c, NULL);

    while (session_answer(s, r.id, &end) != NULL) continue;
    return end != NULL;
}

int run_info(const options_t *o)
{
    session_t s;
    const ensign_notice_t *n;
    ensign_ulid_t *ids = x_realloc(NULL, (o->args.count + 1) * sizeof *ids);
    bool ok = session_open(&s, o, false) && learn_names(&s);

    for (size_t i = 0; ok && i < o->args.count; i++) ok = session_topic(&s, o->args.at[i], &ids[i]);
    if (ok) {
        ensign_request_t r = ensign_info(s.c, ids, o->args.count, NULL);
        while ((n = session_answer(&s, r.id, NULL)) != NULL) {
            if (n->type == ENSIGN_NOTICE_PROJECT) print_project(o, n->as.project);
            if (n->type == ENSIGN_NOTICE_TOPIC_INFO) print_topic_info(o, n->as.topic_info);
            if (n->type == ENSIGN_NOTICE_TYPE_INFO) print_type_info(o, n->as.type_info);
        }
    }
    free(ids);
    return session_end(&s);
}
