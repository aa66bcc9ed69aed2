/* topics.c - ensign topics: list, make, change and remove topics */
#include "session.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *state_name(int state)
{
    static const char *const names[] = { "undefined", "ready",      "readonly", "deleting",
                                         "pending",   "allocating", "repairing" };
    return state >= 0 && (size_t)state < COUNT_OF(names) ? names[state] : "unknown";
}

static const char *dedup_name(int strategy)
{
    static const char *const names[] = { "none", "none", "strict", "datagram", "key-grouped", "unique-key",
                                         "unique-field" };
    return strategy >= 0 && (size_t)strategy < COUNT_OF(names) ? names[strategy] : "unknown";
}

/* An archived topic keeps the state READY on the server. */
static const char *topic_state(const ensign_topic_t *t)
{
    return t->readonly ? "archived" : state_name(t->state);
}

static void json_topic(const ensign_topic_t *t)
{
    char id[27];

    json_object(NULL);
    ensign_ulid_text(t->id, id);
    json_text("id", id);
    ensign_ulid_text(t->project_id, id);
    json_text("project_id", id);
    json_slice("name", t->name);
    json_text("state", state_name(t->state));
    json_bool("archived", t->readonly);
    json_text("deduplication", dedup_name(t->dedup_strategy));
    json_text("deduplication_offset", t->dedup_offset == ENSIGN_DEDUP_OFFSET_LATEST ? "latest" : "earliest");
    json_bool("overwrite_duplicate", t->overwrite_duplicate);
    json_time("created", t->created);
    json_time("modified", t->modified);
    json_close();
}

/* ---- ls, show */

static const char *state_color(const ensign_topic_t *t)
{
    return out_color(t->readonly ? "33" : t->state == ENSIGN_TOPIC_READY ? "32" : "31");
}

static void text_row(const ensign_topic_t *t)
{
    char id[27], time[TIME_TEXT];

    ensign_ulid_text(t->id, id);
    out_format("%s  %s%-10s%s  %-20.19s  ", id, state_color(t), topic_state(t), out_color("0"),
               text_time(t->created, time));
    out_safe(t->name, false);
    out_text("\n");
}

int run_topics_ls(const options_t *o)
{
    session_t s;
    const ensign_notice_t *n, *end;
    uint64_t count = 0;

    if (session_open(&s, o, false)) {
        ensign_request_t r = ensign_topic_list(s.c, NULL);
        while ((n = session_answer(&s, r.id, &end)) != NULL) {
            if (o->json) {
                json_topic(n->as.topic);
                continue;
            }
            if (count++ == 0)
                out_format("%s%-26s  %-10s  %-20s  %s%s\n", out_color("1"), "ID", "STATE", "CREATED (UTC)",
                           "NAME", out_color("0"));
            text_row(n->as.topic);
        }
        if (end && count == 0 && !o->json)
            say("the project has no topic yet; ensign topics create NAME makes one");
    }
    return session_end(&s);
}

static void text_topic(const ensign_topic_t *t)
{
    char id[27], time[TIME_TEXT];

    out_text("name           ");
    out_safe(t->name, false);
    ensign_ulid_text(t->id, id);
    out_format("\nid             %s\n", id);
    ensign_ulid_text(t->project_id, id);
    out_format("project        %s\n", id);
    out_format("state          %s%s%s\n", state_color(t), topic_state(t), out_color("0"));
    out_format("deduplication  %s%s\n", dedup_name(t->dedup_strategy),
               t->dedup_offset == ENSIGN_DEDUP_OFFSET_LATEST ? ", the latest stays" : "");
    out_format("created        %s\n", text_time(t->created, time));
    out_format("modified       %s\n", text_time(t->modified, time));
}

static void print_topic(const options_t *o, const ensign_topic_t *t)
{
    if (o->json) json_topic(t);
    else text_topic(t);
}

int run_topics_show(const options_t *o)
{
    session_t s;
    const ensign_notice_t *n;

    if (session_open(&s, o, false)) {
        n = session_answer(&s, ensign_topic_find(s.c, o->args.at[0], NULL).id, NULL);
        if (n) print_topic(o, n->as.topic);
    }
    return session_end(&s);
}

/* ---- create */

int run_topics_create(const options_t *o)
{
    session_t s;
    const ensign_notice_t *n;

    if (session_open(&s, o, false)) {
        const char *name = o->args.at[0];
        n = session_answer(&s, o->if_missing ? ensign_topic_ensure(s.c, name, NULL).id
                                             : ensign_topic_create(s.c, name, NULL, NULL).id, NULL);
        if (n) print_topic(o, n->as.topic);
    }
    return session_end(&s);
}
