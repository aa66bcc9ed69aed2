/* dump.c - prints a topic's stored events, one JSON line each; see files.h */
#include "messages.h"
#include "files.h"
#include "log_now.h"
#include "topics.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DUMP_TIMEOUT_MS 30000

typedef struct dumped_t { ulid_t project, topic; } dumped_t;

typedef struct dump_t {
    const char *wanted;         /* name or ULID text */
    dumped_t   *topics;         /* several projects may each have one of that name */
    size_t      count;
    bool        strict;
    char        topic_text[ULID_TEXT + 1];
} dump_t;

static bool note_topic(void *user, ensign_slice_t key, ensign_slice_t value)
{
    dump_t *d = user;
    dumped_t t;
    ensign_slice_t name;
    char text[ULID_TEXT + 1];

    if (!topic_record_read(key, value, &t.project, &t.topic, &name)) return true;
    ulid_text(&t.topic, text);
    if (!slice_is(name, d->wanted) && strcmp(text, d->wanted) != 0) return true;
    d->topics = x_realloc(d->topics, (d->count + 1) * sizeof *d->topics);
    d->topics[d->count++] = t;
    return true;
}

static json_t *time_json(bool has, int64_t seconds, int32_t nanos)
{
    char text[UTC_TEXT];
    return has && utc_text(seconds, nanos, text) ? json_string(text) : json_null();
}

/* As text where it is text, else base64url under another name. */
static void put_bytes(json_t *o, const char *name, const char *coded_name, ensign_slice_t v)
{
    json_t *text = json_stringn(v.len ? (const char *)v.ptr : "", v.len);
    char *coded;

    if (text) {
        json_object_set_new(o, name, text);
        return;
    }
    coded = x_alloc(v.len * 4 / 3 + 4);
    base64url(v, coded);
    json_object_set_new(o, coded_name, json_string(coded));
    free(coded);
}

static json_t *metadata_object(ensign_slice_t span)
{
    json_t *o = json_object();
    msg_event_metadata_entry_t entry;
    ensign_slice_t item;
    size_t at = 0;

    while (msg_next(span, MSG_EVENT_METADATA_TAG, &at, &item)) {
        char *key;
        if (!msg_decode(MSG_EVENT_METADATA_ENTRY, &entry, item)) continue;
        key = slice_dup(entry.key);
        put_bytes(o, key, key, entry.value);
        free(key);
    }
    return o;
}

static void put_event(json_t *o, ensign_slice_t bytes)
{
    msg_event_t e;
    json_t *type;

    if (!msg_decode(MSG_EVENT, &e, bytes)) {
        put_bytes(o, "event", "event_base64url", bytes);    /* the server takes any bytes for an event */
        return;
    }
    put_bytes(o, "data", "data_base64url", e.data);
    json_object_set_new(o, "mimetype", json_integer(e.mimetype));
    if (e.has_type) {
        type = json_pack("{s:i, s:i, s:i}", "major", (int)e.type.major_version, "minor",
                         (int)e.type.minor_version, "patch", (int)e.type.patch_version);
        put_bytes(type, "name", "name_base64url", e.type.name);
        json_object_set_new(o, "type", type);
    }
    json_object_set_new(o, "metadata", metadata_object(e.metadata));
    json_object_set_new(o, "created", time_json(e.has_created, e.created.seconds, e.created.nanos));
}

static json_t *publisher_object(const msg_publisher_t *p)
{
    json_t *o = json_object();
    put_bytes(o, "id", "id_base64url", p->publisher_id);
    put_bytes(o, "address", "address_base64url", p->ipaddr);
    put_bytes(o, "client_id", "client_id_base64url", p->client_id);
    put_bytes(o, "user_agent", "user_agent_base64url", p->user_agent);
    return o;
}

/* Of a duplicate only what differs from its original is stored; this tells which that is. */
static void put_duplicate(json_t *o, const msg_event_wrapper_t *w)
{
    char id[RLID_TEXT + 1];
    rlid_t rlid;

    if (!w->is_duplicate || w->duplicate_id.len != sizeof rlid.b) return;
    memcpy(rlid.b, w->duplicate_id.ptr, sizeof rlid.b);
    rlid_text(&rlid, id);
    json_object_set_new(o, "duplicate_of", json_string(id));
}

static bool print_event(void *user, const log_event_t *e)
{
    const dump_t *d = user;
    msg_event_wrapper_t w;
    char id[RLID_TEXT + 1];
    json_t *o;

    rlid_text(&e->id, id);
    o = json_pack("{s:s, s:s, s:I}", "id", id, "topic", d->topic_text, "offset", (json_int_t)e->offset);
    if (msg_decode(MSG_EVENT_WRAPPER, &w, e->value)) {
        put_event(o, w.event);
        json_object_set_new(o, "committed", time_json(!d->strict, e->committed.seconds, e->committed.nanos));
        json_object_set_new(o, "publisher", publisher_object(&w.publisher));
        put_duplicate(o, &w);
    }
    json_dumpf(o, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(o);
    return !ferror(stdout);
}

bool dump_topic(const char *folder, const char *topic, bool strict, why_t *why)
{
    log_t *l = log_open(&log_sqlite, folder, LOG_READ, DUMP_TIMEOUT_MS, why);
    dump_t d;
    bool ok;

    if (!l) return false;
    memset(&d, 0, sizeof d);
    d.wanted = topic;
    d.strict = strict;
    log_each(l, TOPIC_PREFIX, note_topic, &d);
    ok = d.count || fail(why, "--dump %s: %s holds no topic of that name or id; create it, or mend the name",
                         topic, folder);
    for (size_t i = 0; ok && i < d.count; i++) {
        ulid_text(&d.topics[i].topic, d.topic_text);
        ok = log_read_now(l, &d.topics[i].project, &d.topics[i].topic, print_event, &d, why);
    }
    free(d.topics);
    log_close(l);
    if (ok && fflush(stdout) != 0) ok = fail(why, "--dump %s: standard output cannot be written", topic);
    return ok;
}
