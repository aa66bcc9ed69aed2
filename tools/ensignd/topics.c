/* topics.c - see topics.h
 *
 * A record's key is the project's ULID and the topic's; its value the name's length in two bytes, the name,
 * and the Topic message. */
#include "topics.h"
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 512

static uint64_t hash_of(ensign_slice_t a, ensign_slice_t b)
{
    uint64_t h = 0xcbf29ce484222325u;       /* FNV-1a */
    for (size_t i = 0; i < a.len; i++) h = (h ^ a.ptr[i]) * 0x100000001b3u;
    for (size_t i = 0; i < b.len; i++) h = (h ^ b.ptr[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

static uint64_t hash_by_id(const topic_t *x)
{
    return hash_of(slice_of(x->id.b, sizeof x->id.b), slice_of(NULL, 0));
}

static uint64_t hash_by_name(const topic_t *x)
{
    return hash_of(slice_of(x->project.b, sizeof x->project.b), slice_text(x->name));
}

static void table_insert(topic_table_t *t, topic_t *x, uint64_t hash)
{
    size_t at = (size_t)hash & (t->cap - 1);
    while (t->slots[at]) at = (at + 1) & (t->cap - 1);
    t->slots[at] = x;
}

/* The tables anew. At most half full, so that a search always meets an empty slot soon. */
static void tables_make(topics_t *t, size_t cap)
{
    free(t->by_id.slots);
    free(t->by_name.slots);
    t->by_id.cap = t->by_name.cap = cap;
    t->by_id.slots = x_alloc(cap * sizeof *t->by_id.slots);
    t->by_name.slots = x_alloc(cap * sizeof *t->by_name.slots);
    for (size_t i = 0; i < t->count; i++) {
        if (ulid_is_zero(&t->all[i]->project)) continue;
        table_insert(&t->by_id, t->all[i], hash_by_id(t->all[i]));
        table_insert(&t->by_name, t->all[i], hash_by_name(t->all[i]));
    }
}

topic_t *topics_by_id(const topics_t *t, const ulid_t *id)
{
    size_t at = (size_t)hash_of(slice_of(id->b, sizeof id->b), slice_of(NULL, 0)) & (t->by_id.cap - 1);

    for (; t->by_id.slots[at]; at = (at + 1) & (t->by_id.cap - 1))
        if (ulid_eq(&t->by_id.slots[at]->id, id)) return t->by_id.slots[at];
    return NULL;
}

topic_t *topics_by_name(const topics_t *t, const ulid_t *project, ensign_slice_t name)
{
    size_t at = (size_t)hash_of(slice_of(project->b, sizeof project->b), name) & (t->by_name.cap - 1);

    for (; t->by_name.slots[at]; at = (at + 1) & (t->by_name.cap - 1)) {
        topic_t *x = t->by_name.slots[at];
        if (ulid_eq(&x->project, project) && slice_is(name, x->name)) return x;
    }
    return NULL;
}

static topic_t *by_hash_text(const topics_t *t, const ulid_t *project, ensign_slice_t text)
{
    char hash[HASH_TEXT + 3];

    for (size_t i = 0; i < t->count; i++) {
        topic_t *x = t->all[i];
        if (!ulid_eq(&x->project, project)) continue;
        base64url(slice_of(x->hash.b, sizeof x->hash.b), hash);
        if (slice_is(text, hash)) return x;
    }
    return NULL;
}

topic_t *topics_lookup(const topics_t *t, const ulid_t *project, ensign_slice_t text)
{
    ulid_t id;
    topic_t *x = topics_by_name(t, project, text);

    if (!x && ulid_parse(text, &id)) x = topics_by_id(t, &id);
    if (!x && text.len == HASH_TEXT) x = by_hash_text(t, project, text);
    return x && ulid_eq(&x->project, project) ? x : NULL;
}

static topic_t *remember(topics_t *t, const ulid_t *id, const ulid_t *project, ensign_slice_t name,
                         ensign_slice_t message)
{
    topic_t *x = x_alloc(sizeof *x);

    x->id = *id;
    x->project = *project;
    x->name = slice_dup(name);
    x->hash = name_hash(name);
    x->index = t->count;
    x->message = (uint8_t *)slice_dup(message);
    x->message_len = message.len;
    if (t->count == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 64;
        t->all = x_realloc(t->all, t->cap * sizeof *t->all);
    }
    if (2 * (t->count + 1) > t->by_id.cap) tables_make(t, 2 * t->by_id.cap);
    t->all[t->count++] = x;
    table_insert(&t->by_id, x, hash_by_id(x));
    table_insert(&t->by_name, x, hash_by_name(x));
    return x;
}

bool topic_record_read(ensign_slice_t key, ensign_slice_t value, ulid_t *project, ulid_t *id,
                       ensign_slice_t *name, ensign_slice_t *message)
{
    size_t n;

    if (key.len != 32 || value.len < 2) return false;
    n = (size_t)value.ptr[0] << 8 | value.ptr[1];
    if (value.len - 2 < n) return false;
    ulid_from(slice_of(key.ptr, 16), project);
    ulid_from(slice_of(key.ptr + 16, 16), id);
    *name = slice_of(value.ptr + 2, n);
    *message = slice_of(value.ptr + 2 + n, value.len - 2 - n);
    return true;
}

static bool load_topic(void *user, ensign_slice_t key, ensign_slice_t value)
{
    ulid_t id, project;
    ensign_slice_t name, message;
    if (topic_record_read(key, value, &project, &id, &name, &message))
        remember(user, &id, &project, name, message);
    return true;
}

bool topics_open(topics_t *t, store_t *s, why_t *why)
{
    memset(t, 0, sizeof *t);
    t->store = s;
    tables_make(t, 64);
    return store_scan(s, STORE_TOPIC, slice_of(NULL, 0), slice_of(NULL, 0), load_topic, t, why);
}

static void record_key(const ulid_t *project, const ulid_t *id, uint8_t key[32])
{
    memcpy(key, project->b, 16);
    memcpy(key + 16, id->b, 16);
}

static bool keep(topics_t *t, const ulid_t *id, const ulid_t *project, ensign_slice_t name,
                 ensign_slice_t message, why_t *why)
{
    uint8_t key[32], length[2] = { (uint8_t)(name.len >> 8), (uint8_t)(name.len & 0xff) };
    buf_t value = { NULL, 0, 0, 0 };
    bool ok;

    record_key(project, id, key);
    buf_put(&value, length, sizeof length);
    buf_put(&value, name.ptr, name.len);
    buf_put(&value, message.ptr, message.len);
    ok = store_put(t->store, STORE_TOPIC, slice_of(key, sizeof key), buf_bytes(&value), why);
    buf_free(&value);
    return ok;
}

topic_t *topics_add(topics_t *t, const ulid_t *id, const ulid_t *project, ensign_slice_t name,
                    ensign_slice_t message, why_t *why)
{
    return keep(t, id, project, name, message, why) ? remember(t, id, project, name, message) : NULL;
}

bool topics_update(topics_t *t, topic_t *x, ensign_slice_t message, why_t *why)
{
    if (!keep(t, &x->id, &x->project, slice_text(x->name), message, why)) return false;
    free(x->message);
    x->message = (uint8_t *)slice_dup(message);
    x->message_len = message.len;
    return true;
}

bool topics_remove(topics_t *t, const topic_t *x, why_t *why)
{
    uint8_t key[32];
    size_t n;

    record_key(&x->project, &x->id, key);
    return store_remove(t->store, STORE_TOPIC, slice_of(key, sizeof key), 1, &n, why);
}

void topics_forget(topics_t *t, topic_t *x)
{
    memset(&x->project, 0, sizeof x->project);
    free(x->message);
    x->message = NULL;
    x->message_len = 0;
    tables_make(t, t->by_id.cap);
}

topic_t *topics_gone(const topics_t *t, const ulid_t *id)
{
    for (size_t i = 0; i < t->count; i++)
        if (ulid_eq(&t->all[i]->id, id) && ulid_is_zero(&t->all[i]->project)) return t->all[i];
    return NULL;
}

void topics_close(topics_t *t)
{
    for (size_t i = 0; i < t->count; i++) {
        free(t->all[i]->name);
        free(t->all[i]->message);
        free(t->all[i]->subscribers);
        free(t->all[i]);
    }
    free(t->all);
    free(t->by_id.slots);
    free(t->by_name.slots);
    memset(t, 0, sizeof *t);
}

static bool is_letter(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

const char *topic_name_fault(ensign_slice_t name)
{
    if (name.len == 0) return "missing name field";
    if (name.len > NAME_MAX_BYTES) return "topic name is too long";
    if (!is_letter(name.ptr[0])) return "topic name is invalid";
    for (size_t i = 1; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        if (!is_letter(c) && !(c >= '0' && c <= '9') && c != '.' && c != '-' && c != '_')
            return "topic name is invalid";
    }
    return NULL;
}
