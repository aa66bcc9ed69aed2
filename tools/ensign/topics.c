/* topics.c - ensign topics: list, make, change and remove topics */
#include "session.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An archived topic keeps the state READY on the server. */
static const char *topic_state(const ensign_topic_t *t)
{
    return t->readonly ? "archived" : session_name(ENSIGN_NAMES_TOPIC, t->state);
}

typedef bool walk_t(const ensign_topic_t *t, size_t *at, ensign_slice_t *word);

static void json_words(const char *key, const ensign_topic_t *t, walk_t *walk)
{
    ensign_slice_t word;
    size_t at = 0;

    json_list(key);
    while (walk(t, &at, &word)) json_slice(NULL, word);
    json_close();
}

static void text_words(const char *name, const ensign_topic_t *t, walk_t *walk)
{
    ensign_slice_t word;
    size_t at = 0;

    while (walk(t, &at, &word)) {
        out_format("%-15s", name);
        out_safe(word, false);
        out_text("\n");
    }
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
    json_text("state", session_name(ENSIGN_NAMES_TOPIC, t->state));
    json_bool("archived", t->readonly);
    json_text("deduplication", session_name(ENSIGN_NAMES_DEDUP, t->dedup_strategy));
    json_text("deduplication_offset", session_name(ENSIGN_NAMES_DEDUP_OFFSET, t->dedup_offset));
    json_words("deduplication_keys", t, ensign_topic_key_next);
    json_words("deduplication_fields", t, ensign_topic_field_next);
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
    out_format("deduplication  %s%s%s\n", session_name(ENSIGN_NAMES_DEDUP, t->dedup_strategy),
               t->dedup_offset == ENSIGN_DEDUP_OFFSET_LATEST ? ", the latest stays" : "",
               t->overwrite_duplicate ? ", duplicates are overwritten" : "");
    text_words("  key", t, ensign_topic_key_next);
    text_words("  field", t, ensign_topic_field_next);
    out_format("created        %s\n", text_time(t->created, time));
    out_format("modified       %s\n", text_time(t->modified, time));
}

static void print_topic(const options_t *o, const ensign_topic_t *t)
{
    if (o->json) json_topic(t);
    else text_topic(t);
}

/* A record of the server's, by name or by id. NULL: said. */
static const ensign_topic_t *find_topic(session_t *s, const char *topic)
{
    const ensign_notice_t *n;
    ensign_ulid_t id;
    ensign_request_t r = topic_is_id(topic, &id) ? ensign_topic_by_id(s->c, id, NULL)
                                                 : ensign_topic_by_name(s->c, topic, NULL);

    n = session_answer(s, r.id, NULL);
    return n ? n->as.topic : NULL;
}

int run_topics_show(const options_t *o)
{
    session_t s;
    const ensign_topic_t *t;

    if (session_open(&s, o, false) && (t = find_topic(&s, o->args.at[0])) != NULL) print_topic(o, t);
    return session_end(&s);
}

/* ---- create, policy */

static int read_dedup(const options_t *o, ensign_dedup_t *d)
{
    static const int strategies[] = { ENSIGN_DEDUP_UNKNOWN,     ENSIGN_DEDUP_NONE,
                                      ENSIGN_DEDUP_STRICT,      ENSIGN_DEDUP_DATAGRAM,
                                      ENSIGN_DEDUP_KEY_GROUPED, ENSIGN_DEDUP_UNIQUE_KEY,
                                      ENSIGN_DEDUP_UNIQUE_FIELD };
    bool by_key;

    memset(d, 0, sizeof *d);
    d->strategy = strategies[o->dedup];
    d->offset = o->offset; /* the words stand in the order of the numbers: 1 earliest, 2 latest */
    d->keys = (const char *const *)o->keys.at;
    d->key_count = o->keys.count;
    d->fields = (const char *const *)o->fields.at;
    d->field_count = o->fields.count;
    d->overwrite_duplicate = o->overwrite_duplicate;
    by_key = d->strategy == ENSIGN_DEDUP_KEY_GROUPED || d->strategy == ENSIGN_DEDUP_UNIQUE_KEY;
    if (o->dedup == 0 && (o->keys.count + o->fields.count > 0 || o->offset > 0 || o->overwrite_duplicate))
        return options_refuse(
            o, "--keys, --fields, --offset and --overwrite-duplicate belong to --dedup; add it");
    if (by_key != (o->keys.count > 0))
        return options_refuse(o, "--keys go with --dedup key-grouped and unique-key, which need some");
    if ((d->strategy == ENSIGN_DEDUP_UNIQUE_FIELD) != (o->fields.count > 0))
        return options_refuse(o, "--fields go with --dedup unique-field, which needs some");
    return EXIT_DONE;
}

int run_topics_create(const options_t *o)
{
    session_t s;
    const ensign_notice_t *n;
    ensign_dedup_t d;
    int status = read_dedup(o, &d);

    if (status != EXIT_DONE) return status;
    if (o->if_missing && o->dedup)
        return options_refuse(
            o, "--if-missing makes a topic without a policy; leave out --dedup, and use ensign topics "
               "policy");
    if (session_open(&s, o, false)) {
        const char *name = o->args.at[0];
        n = session_answer(&s,
                           o->if_missing ? ensign_topic_ensure(s.c, name, NULL).id
                                         : ensign_topic_create(s.c, name, o->dedup ? &d : NULL, NULL).id,
                           NULL);
        if (n) print_topic(o, n->as.topic);
        if (n && !topic_is_queryable(name))
            say("queries of the public service cannot read a topic of this name: EnSQL takes part of it for a "
                "word of its own; ensignd reads it in double quotes");
    }
    return session_end(&s);
}

static void print_state(const options_t *o, const ensign_notice_t *n)
{
    char id[27];

    ensign_ulid_text(n->as.topic_state.id, id);
    if (o->json) {
        json_object(NULL);
        json_text("id", id);
        json_text("state", session_name(ENSIGN_NAMES_TOPIC, n->as.topic_state.state));
        json_close();
    } else {
        out_format("%s  %s\n", id, session_name(ENSIGN_NAMES_TOPIC, n->as.topic_state.state));
    }
}

int run_topics_policy(const options_t *o)
{
    session_t s;
    ensign_dedup_t d;
    ensign_ulid_t id;
    const ensign_notice_t *n;
    int status = read_dedup(o, &d);

    if (status != EXIT_DONE) return status;
    if (o->dedup == 0)
        return options_refuse(o, "say which policy: --dedup %s", "none, strict, datagram, ...");
    if (session_open(&s, o, false) && session_topic(&s, o->args.at[0], &id)) {
        n = session_answer(&s, ensign_topic_set_dedup(s.c, id, &d, NULL).id, NULL);
        if (n) print_state(o, n);
        if (n && n->as.topic_state.state == ENSIGN_TOPIC_PENDING)
            say("the server looks for duplicates now; until it is done the topic is pending");
    }
    return session_end(&s);
}

/* ---- exists, archive, rm */

int run_topics_exists(const options_t *o)
{
    session_t s;
    const ensign_notice_t *n;
    ensign_ulid_t id;

    if (session_open(&s, o, false)) {
        bool by_id = topic_is_id(o->args.at[0], &id);
        n = session_answer(
            &s, ensign_topic_exists(s.c, by_id ? NULL : o->args.at[0], by_id ? &id : NULL, NULL).id, NULL);
        if (n && !n->as.exists.exists) session_fail(&s, EXIT_ABSENT);
        if (n && o->json) {
            json_object(NULL);
            json_bool("exists", n->as.exists.exists);
            json_close();
        } else if (n) {
            out_text(n->as.exists.exists ? "yes\n" : "no\n");
        }
    }
    return session_end(&s);
}

int run_topics_archive(const options_t *o)
{
    session_t s;
    ensign_ulid_t id;
    const ensign_notice_t *n;

    if (session_open(&s, o, false) && session_topic(&s, o->args.at[0], &id)) {
        n = session_answer(&s, ensign_topic_archive(s.c, id, NULL).id, NULL);
        if (n) print_state(o, n);
    }
    return session_end(&s);
}

int run_topics_rm(const options_t *o)
{
    session_t s;
    ensign_ulid_t id;
    const ensign_notice_t *n;
    const char *topic = o->args.at[0];
    int status = confirm_removal(o, "topic", topic, "all its events");

    if (status != EXIT_DONE) return status;
    if (session_open(&s, o, false) && session_topic(&s, topic, &id)) {
        n = session_answer(&s, ensign_topic_destroy(s.c, id, NULL).id, NULL);
        if (n) print_state(o, n);
    }
    return session_end(&s);
}
