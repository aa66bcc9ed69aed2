/* stored_json.c - see stored_json.h */
#include "field.h"
#include "messages.h"
#include "stored_json.h"
#include "wrapper.h"
#include "../common/utf8.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENCODING "_encoding"
#define VERSION_TEXT 40
#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* ---- into an object */

static void put(json_t *o, const char *name, json_t *value)
{
    json_object_set_new(o, name, value);
}

static void put_ulid(json_t *o, const char *name, const ulid_t *id)
{
    char text[ULID_TEXT + 1];

    ulid_text(id, text);
    put(o, name, json_string(text));
}

static void put_rlid(json_t *o, const char *name, const rlid_t *id)
{
    char text[RLID_TEXT + 1];

    rlid_text(id, text);
    put(o, name, json_string(text));
}

static void put_base64(json_t *o, const char *name, ensign_slice_t bytes)
{
    char *text = x_alloc(BASE64_ROOM(bytes.len));

    base64(bytes, text);
    put(o, name, json_string(text));
    free(text);
}

static json_t *text_json(ensign_slice_t text)
{
    return json_stringn(text.len ? (const char *)text.ptr : "", text.len);
}

/* As text where it is text, and then base64; NAME_encoding says which where it is not text, or `always`. */
static void put_bytes(json_t *o, const char *name, ensign_slice_t bytes, bool always)
{
    bool plain = utf8_valid(bytes);
    char encoding[64];

    snprintf(encoding, sizeof encoding, "%s" ENCODING, name);
    if (plain) put(o, name, text_json(bytes));
    else put_base64(o, name, bytes);
    if (!plain || always) put(o, encoding, json_string(plain ? "text" : "base64"));
}

/* null for a time that the calendar does not reach. */
static json_t *time_json(bool has, int64_t seconds, int32_t nanos)
{
    char text[UTC_TEXT];
    return has && utc_text(seconds, nanos, text) ? json_string(text) : json_null();
}

/* What is no text becomes null; then the event's bytes are there as well. */
static json_t *text_or_null(ensign_slice_t text)
{
    json_t *v = text_json(text);
    return v ? v : json_null();
}

static json_t *type_json(const msg_type_t *t)
{
    char version[VERSION_TEXT];
    json_t *o = json_object();

    snprintf(version, sizeof version, "%lu.%lu.%lu", (unsigned long)t->major_version,
             (unsigned long)t->minor_version, (unsigned long)t->patch_version);
    put(o, "name", text_or_null(t->name));
    put(o, "version", json_string(version));
    return o;
}

static json_t *metadata_json(ensign_slice_t span)
{
    json_t *o = json_object();
    msg_event_metadata_entry_t entry;
    ensign_slice_t item;
    size_t at = 0;

    while (msg_next(span, MSG_EVENT_METADATA_TAG, &at, &item)) {
        char *key;
        if (!msg_decode(MSG_EVENT_METADATA_ENTRY, &entry, item)) continue;
        key = slice_dup(entry.key);
        put(o, key, text_or_null(entry.value));
        free(key);
    }
    return o;
}

static void put_event(json_t *o, const msg_event_t *e)
{
    put(o, "mimetype", json_string(ensign_mime_name(e->mimetype)));
    put(o, "mimetype_number", json_integer(e->mimetype));
    put(o, "type", e->has_type ? type_json(&e->type) : json_null());
    put(o, "metadata", metadata_json(e->metadata));
    put(o, "created", time_json(e->has_created, e->created.seconds, e->created.nanos));
}

/* The client's name is there even if it is empty: it says that there is a publisher. */
static void put_publisher(json_t *o, const msg_publisher_t *p)
{
    put_bytes(o, "publisher", p->client_id, false);
    if (p->publisher_id.len) put_bytes(o, "publisher_id", p->publisher_id, false);
    if (p->ipaddr.len) put_bytes(o, "publisher_address", p->ipaddr, false);
    if (p->user_agent.len) put_bytes(o, "publisher_agent", p->user_agent, false);
}

/* A message inside of another, as it is encoded there. */
static void put_message(json_t *o, const char *name, bool has, ensign_slice_t value, uint32_t tag)
{
    ensign_slice_t bytes;
    size_t at = 0;

    if (has && msg_next(value, tag, &at, &bytes)) put_base64(o, name, bytes);
}

static void put_envelope(json_t *o, const msg_event_wrapper_t *w, ensign_slice_t value)
{
    rlid_t original;

    if (w->key.len) put_bytes(o, "key", w->key, true);
    put_message(o, "encryption", w->has_encryption, value, MSG_EVENT_WRAPPER_ENCRYPTION_TAG);
    put_message(o, "compression", w->has_compression, value, MSG_EVENT_WRAPPER_COMPRESSION_TAG);
    if (w->has_publisher) put_publisher(o, &w->publisher);
    if (w->region) put(o, "region", json_integer(w->region));
    if (w->shard) put(o, "shard", json_integer((json_int_t)w->shard));
    if (!w->is_duplicate || w->duplicate_id.len != sizeof original.b) return;
    memcpy(original.b, w->duplicate_id.ptr, sizeof original.b);
    put_rlid(o, "duplicate_of", &original);
}

/* ---- is it whole? */

/* The wrapper with its fields in the order of their numbers, whatever order they came in, and without the
   time of the commit, which may be the log's. */
static bool put_again(buf_t *out, ensign_slice_t wrapper)
{
    msg_event_wrapper_t w;

    if (!msg_decode(MSG_EVENT_WRAPPER, &w, wrapper)) return false;
    w.has_committed = false;
    return msg_put(out, MSG_EVENT_WRAPPER, &w);
}

static bool same_wrapper(ensign_slice_t a, ensign_slice_t b)
{
    buf_t x = { NULL, 0, 0, 0 }, y = { NULL, 0, 0, 0 };
    bool same = put_again(&x, a) && put_again(&y, b) && slice_eq(buf_bytes(&x), buf_bytes(&y));

    buf_free(&x);
    buf_free(&y);
    return same;
}

static bool gives_event(json_t *o, const log_event_t *e)
{
    buf_t value = { NULL, 0, 0, 0 };
    event_ids_t ids;
    why_t why;
    bool same = event_from_json(o, &e->topic, &ids, &value, &why) &&
                same_wrapper(buf_bytes(&value), e->value);

    buf_free(&value);
    return same;
}

json_t *event_to_json(const log_event_t *e, const topic_t *t, uint64_t epoch, bool strict)
{
    json_t *o = json_object();
    msg_event_wrapper_t w;
    msg_event_t event;
    bool readable = msg_decode(MSG_EVENT_WRAPPER, &w, e->value);
    bool plain = readable && msg_decode(MSG_EVENT, &event, w.event);
    stamp_t committed = wrapper_committed(e);

    put(o, "kind", json_string(DUMP_EVENT));
    put_rlid(o, "id", &e->id);
    put(o, "offset", json_integer((json_int_t)e->offset));
    put(o, "epoch", json_integer((json_int_t)epoch));
    put_ulid(o, "project_id", &t->project);
    put(o, "topic", json_string(t->name));
    put_ulid(o, "topic_id", &t->id);
    if (plain) put_event(o, &event);
    put(o, "committed", time_json(!strict, committed.seconds, committed.nanos));
    if (readable) put_envelope(o, &w, e->value);
    if (plain) put_bytes(o, "data", event.data, true);
    if (gives_event(o, e)) return o;
    if (readable) put_base64(o, "event", w.event);
    if (!gives_event(o, e)) put_base64(o, "wrapper", e->value);
    return o;
}

/* As `ensign topics` writes it: "unique-key". */
static json_t *name_json(int names, int number)
{
    const char *name = ensign_enum_name(names, number);
    char text[32];
    size_t i;

    for (i = 0; name[i] && i + 1 < sizeof text; i++)
        text[i] = (char)(name[i] == '_' ? '-' : tolower((unsigned char)name[i]));
    text[i] = '\0';
    return json_string(text);
}

static json_t *texts_json(ensign_slice_t span, uint32_t tag)
{
    json_t *list = json_array();
    ensign_slice_t text;
    size_t at = 0;

    while (msg_next(span, tag, &at, &text)) json_array_append_new(list, text_or_null(text));
    return list;
}

static void put_policy(json_t *o, const msg_deduplication_t *d)
{
    put(o, "deduplication", name_json(ENSIGN_NAMES_DEDUP, d->strategy));
    put(o, "deduplication_offset", name_json(ENSIGN_NAMES_DEDUP_OFFSET, d->offset));
    put(o, "deduplication_keys", texts_json(d->keys, MSG_DEDUPLICATION_KEYS_TAG));
    put(o, "deduplication_fields", texts_json(d->fields, MSG_DEDUPLICATION_FIELDS_TAG));
    put(o, "overwrite_duplicate", json_boolean(d->overwrite_duplicate));
}

static bool gives_topic(json_t *o, ensign_slice_t record)
{
    buf_t again = { NULL, 0, 0, 0 };
    bool dead, same;
    ulid_t dead_of;
    why_t why;

    same = topic_from_json(o, &again, &dead, &dead_of, &why) && slice_eq(buf_bytes(&again), record);
    buf_free(&again);
    return same;
}

json_t *topic_to_json(const topic_t *t, const ulid_t *dead_of)
{
    ensign_slice_t record = slice_of(t->message, t->message_len);
    json_t *o = json_object();
    msg_topic_t m;

    put(o, "kind", json_string(DUMP_TOPIC));
    put_ulid(o, "id", &t->id);
    put_ulid(o, "project_id", &t->project);
    put(o, "name", json_string(t->name));
    if (dead_of) put_ulid(o, "dead_letters_of", dead_of);
    if (msg_decode(MSG_TOPIC, &m, record)) {
        put(o, "state", name_json(ENSIGN_NAMES_TOPIC, m.status));
        put(o, "archived", json_boolean(m.readonly));
        if (m.has_deduplication) put_policy(o, &m.deduplication);
        put(o, "created", time_json(m.has_created, m.created.seconds, m.created.nanos));
        put(o, "modified", time_json(m.has_modified, m.modified.seconds, m.modified.nanos));
    }
    if (!gives_topic(o, record)) put_base64(o, "record", record);
    return o;
}

json_t *key_to_json(const api_key_t *k)
{
    json_t *o = json_object(), *permissions = json_array();

    for (size_t i = 0; i < PERM_COUNT; i++)
        if (k->permissions & permission_bit(permission_names[i]))
            json_array_append_new(permissions, json_string(permission_names[i]));
    put(o, "kind", json_string(DUMP_KEY));
    put_ulid(o, "id", &k->id);
    put_ulid(o, "project_id", &k->project);
    put_ulid(o, "org_id", &k->org);
    put(o, "client_id", json_string(k->client_id));
    put(o, "client_secret", json_string(k->client_secret));
    put(o, "permissions", permissions);
    return o;
}

/* ---- out of an object */

/* What was decoded lives until close. */
typedef struct reader_t { json_t *o; why_t *why; void *held[16]; size_t held_count; } reader_t;

static void reader_close(reader_t *r)
{
    while (r->held_count) free(r->held[--r->held_count]);
}

static bool bad(const reader_t *r, const char *name, const char *what)
{
    return fail(r->why, "%s: %s", name, what);
}

/* A typing error must not lose what the field says. */
static bool knows_all(const reader_t *r, const char *const *names, size_t count)
{
    const char *key;
    json_t *value;

    json_object_foreach(r->o, key, value) {
        size_t i = 0;
        while (i < count && strcmp(key, names[i]) != 0) i++;
        if (i == count) return fail(r->why, "%.100s: there is no such field; mend its name", key);
    }
    return true;
}

/* NULL: it is absent, or null. */
static json_t *value_of_field(const reader_t *r, const char *name)
{
    json_t *v = json_object_get(r->o, name);
    return json_is_null(v) ? NULL : v;
}

static bool read_string(const reader_t *r, const char *name, const json_t *v, ensign_slice_t *out)
{
    *out = slice_of(NULL, 0);
    if (!v) return true;
    if (!json_is_string(v)) return bad(r, name, "give a string");
    *out = slice_of(json_string_value(v), json_string_length(v));
    return true;
}

static bool read_base64(reader_t *r, const char *name, ensign_slice_t *out)
{
    uint8_t *bytes;

    if (!read_string(r, name, value_of_field(r, name), out)) return false;
    if (!out->ptr) return true;
    bytes = r->held[r->held_count++] = x_alloc(out->len);
    if (!base64_parse(*out, bytes, &out->len)) return bad(r, name, "it is not base64");
    out->ptr = bytes;
    return true;
}

/* NAME_encoding tells how it is written: "text", which is also the default, or "base64". */
static bool read_bytes(reader_t *r, const char *name, ensign_slice_t *out)
{
    char encoding[64];
    ensign_slice_t how;

    snprintf(encoding, sizeof encoding, "%s" ENCODING, name);
    if (!read_string(r, encoding, value_of_field(r, encoding), &how)) return false;
    if (slice_is(how, "base64")) return read_base64(r, name, out);
    if (how.len && !slice_is(how, "text")) return bad(r, encoding, "give \"text\" or \"base64\"");
    return read_string(r, name, value_of_field(r, name), out);
}

static bool read_number(const reader_t *r, const char *name, json_int_t least, json_int_t most,
                        json_int_t *out)
{
    const json_t *v = value_of_field(r, name);

    *out = json_integer_value(v);
    if (!v || (json_is_integer(v) && *out >= least && *out <= most)) return true;
    return fail(r->why, "%s: give a whole number from %" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT,
                name, least, most);
}

static bool read_time(const reader_t *r, const char *name, bool *has, msg_timestamp_t *out)
{
    ensign_slice_t text;
    value_t v;

    if (!read_string(r, name, value_of_field(r, name), &text)) return false;
    *has = text.ptr != NULL;
    if (!*has) return true;
    if (!value_read_time(text, &v)) return bad(r, name, "give a time such as 2026-01-31T12:00:00Z");
    out->seconds = v.i;
    out->nanos = v.nanos;
    return true;
}

static bool read_flag(const reader_t *r, const char *name, bool *out)
{
    const json_t *v = value_of_field(r, name);

    *out = json_is_true(v);
    return !v || json_is_boolean(v) || bad(r, name, "give true or false");
}

static bool read_ulid(const reader_t *r, const char *name, ulid_t *out)
{
    ensign_slice_t text;
    ensign_ulid_t id;

    if (!read_string(r, name, value_of_field(r, name), &text)) return false;
    if (!text.ptr) return bad(r, name, "it is missing; give a ULID");
    if (ensign_ulid_parse(text, &id) != ENSIGN_OK) return bad(r, name, "give a ULID, 26 characters");
    memcpy(out->b, &id, sizeof out->b);
    return true;
}

static bool read_rlid(const reader_t *r, const char *name, bool *has, rlid_t *out)
{
    ensign_slice_t text;
    ensign_rlid_t id;

    if (!read_string(r, name, value_of_field(r, name), &text)) return false;
    *has = text.ptr != NULL;
    if (!*has) return true;
    if (ensign_rlid_parse(text, &id) != ENSIGN_OK) return bad(r, name, "give an RLID, 16 characters");
    memcpy(out->b, &id, sizeof out->b);
    return true;
}

bool ulid_from_json(json_t *o, const char *name, ulid_t *out, why_t *why)
{
    reader_t r = { o, why, { NULL }, 0 };
    return read_ulid(&r, name, out);
}

/* ---- events */

/* The number says all. Without it the name will do, where the service knows it. */
static bool read_mimetype(const reader_t *r, int32_t *out)
{
    ensign_slice_t name;
    json_int_t number;
    int32_t named = ENSIGN_MIME_TEXT_PLAIN;
    bool known;

    if (!read_string(r, "mimetype", value_of_field(r, "mimetype"), &name) ||
        !read_number(r, "mimetype_number", INT32_MIN, INT32_MAX, &number))
        return false;
    known = name.len && ensign_mime_parse(name, &named) == ENSIGN_OK;
    *out = value_of_field(r, "mimetype_number") ? (int32_t)number : named;
    if (known && named != *out) return bad(r, "mimetype", "it and mimetype_number differ; leave one out");
    return known || !name.len || value_of_field(r, "mimetype_number") ||
           bad(r, "mimetype",
               "give one that the service knows, such as application/json, or mimetype_number");
}

static bool read_type(const reader_t *r, msg_event_t *e)
{
    const json_t *v = value_of_field(r, "type");
    ensign_slice_t name, version;
    ensign_type_t type;

    if (!v) return true;
    if (!json_is_object(v)) return bad(r, "type", "give an object with name and version");
    if (!read_string(r, "type.name", json_object_get(v, "name"), &name) ||
        !read_string(r, "type.version", json_object_get(v, "version"), &version))
        return false;
    if (!version.len || strlen((const char *)version.ptr) != version.len ||
        ensign_type_parse("name", (const char *)version.ptr, &type) != ENSIGN_OK)
        return bad(r, "type.version", "give a semantic version, such as 1.2.3");
    e->has_type = true;
    e->type.name = name;
    e->type.major_version = type.major;
    e->type.minor_version = type.minor;
    e->type.patch_version = type.patch;
    return true;
}

static bool read_metadata(const reader_t *r, buf_t *out)
{
    json_t *o = value_of_field(r, "metadata"), *value;
    buf_t entry = { NULL, 0, 0, 0 };
    msg_event_metadata_entry_t e;
    const char *key;
    bool ok = !o || json_is_object(o) || bad(r, "metadata", "give an object of strings");

    json_object_foreach(ok ? o : NULL, key, value) {
        ok = json_is_string(value) || bad(r, "metadata", "each value must be a string");
        if (!ok) break;
        memset(&e, 0, sizeof e);
        e.key = slice_text(key);
        e.value = slice_of(json_string_value(value), json_string_length(value));
        entry.start = entry.end = 0;
        if (msg_put(&entry, MSG_EVENT_METADATA_ENTRY, &e))
            msg_put_field(out, MSG_EVENT_METADATA_TAG, buf_bytes(&entry));
    }
    buf_free(&entry);
    return ok;
}

static bool read_event(reader_t *r, buf_t *out)
{
    buf_t metadata = { NULL, 0, 0, 0 };
    msg_event_t e;
    bool ok;

    memset(&e, 0, sizeof e);
    ok = value_of_field(r, "data") || bad(r, "data", "it is missing; give a string");
    ok = ok && read_bytes(r, "data", &e.data) && read_mimetype(r, &e.mimetype) && read_type(r, &e) &&
         read_metadata(r, &metadata) && read_time(r, "created", &e.has_created, &e.created);
    e.metadata = buf_bytes(&metadata);
    ok = ok && (msg_put(out, MSG_EVENT, &e) || bad(r, "data", "the event cannot be encoded"));
    buf_free(&metadata);
    return ok;
}

static bool read_publisher(reader_t *r, msg_event_wrapper_t *w)
{
    msg_publisher_t *p = &w->publisher;

    if (!read_bytes(r, "publisher", &p->client_id) || !read_bytes(r, "publisher_id", &p->publisher_id) ||
        !read_bytes(r, "publisher_address", &p->ipaddr) || !read_bytes(r, "publisher_agent", &p->user_agent))
        return false;
    w->has_publisher = p->client_id.ptr || p->publisher_id.ptr || p->ipaddr.ptr || p->user_agent.ptr;
    return true;
}

/* A message inside of another goes behind it, as it is encoded. */
static bool read_message(reader_t *r, const char *name, uint32_t tag, buf_t *out)
{
    ensign_slice_t bytes;
    msg_event_wrapper_t w;
    size_t start = out->end;

    if (!value_of_field(r, name)) return true;
    if (!read_base64(r, name, &bytes)) return false;
    msg_put_field(out, tag, bytes);
    return msg_decode(MSG_EVENT_WRAPPER, &w, slice_of(out->ptr + start, out->end - start)) ||
           bad(r, name, "give the encoded message, as base64");
}

static bool read_envelope(reader_t *r, const ulid_t *topic, const event_ids_t *ids, buf_t *out)
{
    buf_t event = { NULL, 0, 0, 0 };
    msg_event_wrapper_t w;
    json_int_t region = 0, shard = 0;
    bool ok;

    memset(&w, 0, sizeof w);
    ok = value_of_field(r, "event") ? read_base64(r, "event", &w.event) : read_event(r, &event);
    if (!w.event.ptr) w.event = buf_bytes(&event);
    ok = ok && read_bytes(r, "key", &w.key) && read_publisher(r, &w) &&
         read_time(r, "committed", &w.has_committed, &w.committed) &&
         read_number(r, "region", INT32_MIN, INT32_MAX, &region) &&
         read_number(r, "shard", INT64_MIN, INT64_MAX, &shard);
    w.topic_id = slice_of(topic->b, sizeof topic->b);
    w.region = (int32_t)region;
    w.shard = (uint64_t)shard;
    w.is_duplicate = ids->duplicate;
    if (w.is_duplicate) w.duplicate_id = slice_of(ids->original.b, sizeof ids->original.b);
    ok = ok && (msg_put(out, MSG_EVENT_WRAPPER, &w) || bad(r, "event", "it cannot be encoded")) &&
         read_message(r, "encryption", MSG_EVENT_WRAPPER_ENCRYPTION_TAG, out) &&
         read_message(r, "compression", MSG_EVENT_WRAPPER_COMPRESSION_TAG, out);
    buf_free(&event);
    return ok;
}

/* As it is, but for the topic, and with the time of the commit behind it. */
static bool read_wrapper(reader_t *r, const ulid_t *topic, buf_t *out)
{
    ensign_slice_t bytes;
    msg_event_wrapper_t w, at;
    bool readable;

    memset(&at, 0, sizeof at);
    if (!read_base64(r, "wrapper", &bytes) || !read_time(r, "committed", &at.has_committed, &at.committed))
        return false;
    readable = msg_decode(MSG_EVENT_WRAPPER, &w, bytes);
    if (readable && w.topic_id.len == sizeof topic->b)
        memcpy((void *)(uintptr_t)w.topic_id.ptr, topic->b, sizeof topic->b);   /* in what r holds */
    buf_put(out, bytes.ptr, bytes.len);
    return !readable || w.has_committed || msg_put(out, MSG_EVENT_WRAPPER, &at);
}

bool event_from_json(json_t *o, const ulid_t *topic, event_ids_t *ids, buf_t *value, why_t *why)
{
    static const char *const names[] = {
        "kind", "id", "offset", "epoch", "project_id", "topic", "topic_id", "mimetype", "mimetype_number",
        "type", "metadata", "created", "committed", "key", "key_encoding", "encryption", "compression",
        "publisher", "publisher_encoding", "publisher_id", "publisher_id_encoding", "publisher_address",
        "publisher_address_encoding", "publisher_agent", "publisher_agent_encoding", "region", "shard",
        "duplicate_of", "data", "data_encoding", "event", "wrapper",
    };
    reader_t r = { o, why, { NULL }, 0 };
    bool ok = knows_all(&r, names, COUNT_OF(names)) && read_rlid(&r, "id", &ids->known, &ids->id) &&
              read_rlid(&r, "duplicate_of", &ids->duplicate, &ids->original);

    ok = ok && (value_of_field(&r, "wrapper") ? read_wrapper(&r, topic, value)
                                              : read_envelope(&r, topic, ids, value));
    reader_close(&r);
    return ok;
}

/* ---- topics and keys */

static bool read_name(const reader_t *r, const char *name, int names, int32_t *out)
{
    ensign_slice_t text;
    int number = 0;

    if (!read_string(r, name, value_of_field(r, name), &text)) return false;
    if (text.ptr && ensign_enum_parse(names, text, &number) != ENSIGN_OK)
        return bad(r, name, "there is no such name; see ensign topics --help");
    *out = (int32_t)number;
    return true;
}

static bool read_texts(const reader_t *r, const char *name, uint32_t tag, buf_t *out)
{
    const json_t *list = value_of_field(r, name);
    ensign_slice_t text;

    if (list && !json_is_array(list)) return bad(r, name, "give a list of strings");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!read_string(r, name, json_array_get(list, i), &text)) return false;
        msg_put_field(out, tag, text);
    }
    return true;
}

static bool read_policy(const reader_t *r, msg_topic_t *m, buf_t *keys, buf_t *fields)
{
    msg_deduplication_t *d = &m->deduplication;
    bool ok = read_name(r, "deduplication", ENSIGN_NAMES_DEDUP, &d->strategy) &&
              read_name(r, "deduplication_offset", ENSIGN_NAMES_DEDUP_OFFSET, &d->offset) &&
              read_texts(r, "deduplication_keys", MSG_DEDUPLICATION_KEYS_TAG, keys) &&
              read_texts(r, "deduplication_fields", MSG_DEDUPLICATION_FIELDS_TAG, fields) &&
              read_flag(r, "overwrite_duplicate", &d->overwrite_duplicate);

    m->has_deduplication = value_of_field(r, "deduplication") != NULL;
    d->keys = buf_bytes(keys);
    d->fields = buf_bytes(fields);
    return ok;
}

static bool read_topic_name(const reader_t *r, ensign_slice_t *out)
{
    const char *fault;

    if (!read_string(r, "name", value_of_field(r, "name"), out)) return false;
    fault = topic_name_fault(*out);
    return !fault ||
           fail(r->why, "name: %s; begin with a letter, and use letters, digits, '.', '-' and '_'", fault);
}

static bool read_topic(const reader_t *r, const ulid_t *id, buf_t *record)
{
    buf_t keys = { NULL, 0, 0, 0 }, fields = { NULL, 0, 0, 0 };
    msg_topic_t m;
    ulid_t project;
    bool ok;

    memset(&m, 0, sizeof m);
    ok = read_ulid(r, "project_id", &project) && read_topic_name(r, &m.name) &&
         read_name(r, "state", ENSIGN_NAMES_TOPIC, &m.status) && read_flag(r, "archived", &m.readonly) &&
         read_policy(r, &m, &keys, &fields) && read_time(r, "created", &m.has_created, &m.created) &&
         read_time(r, "modified", &m.has_modified, &m.modified);
    m.id = slice_of(id->b, sizeof id->b);
    m.project_id = slice_of(project.b, sizeof project.b);
    ok = ok && (msg_put(record, MSG_TOPIC, &m) || bad(r, "name", "the topic cannot be encoded"));
    buf_free(&keys);
    buf_free(&fields);
    return ok;
}

static bool read_record(reader_t *r, buf_t *record)
{
    ensign_slice_t bytes;
    msg_topic_t m;
    ulid_t id;

    if (!read_base64(r, "record", &bytes)) return false;
    if (!msg_decode(MSG_TOPIC, &m, bytes) || !ulid_from(m.id, &id) || topic_name_fault(m.name))
        return bad(r, "record", "give the encoded Topic, as base64, or leave it out");
    buf_put(record, bytes.ptr, bytes.len);
    return true;
}

bool topic_from_json(json_t *o, buf_t *record, bool *has_dead, ulid_t *dead_of, why_t *why)
{
    static const char *const names[] = {
        "kind", "id", "project_id", "name", "dead_letters_of", "state", "archived", "deduplication",
        "deduplication_offset", "deduplication_keys", "deduplication_fields", "overwrite_duplicate",
        "created", "modified", "record",
    };
    reader_t r = { o, why, { NULL }, 0 };
    ulid_t id;
    bool ok = knows_all(&r, names, COUNT_OF(names)) && read_ulid(&r, "id", &id);

    *has_dead = value_of_field(&r, "dead_letters_of") != NULL;
    ok = ok && (!*has_dead || read_ulid(&r, "dead_letters_of", dead_of)) &&
         (value_of_field(&r, "record") ? read_record(&r, record) : read_topic(&r, &id, record));
    reader_close(&r);
    return ok;
}

bool key_from_json(json_t *o, api_key_t *out, why_t *why)
{
    static const char *const names[] = { "kind", "id", "project_id", "org_id", "client_id", "client_secret",
                                         "permissions" };
    reader_t r = { o, why, { NULL }, 0 };

    return knows_all(&r, names, COUNT_OF(names)) && api_key_read(o, out, why) &&
           read_ulid(&r, "id", &out->id) && read_ulid(&r, "project_id", &out->project) &&
           read_ulid(&r, "org_id", &out->org);
}
