/* topics.c - see topics.h */
#include "messages.h"
#include "topics.h"
#include <stdlib.h>
#include <string.h>

bool topic_is_gone(const topic_t *t)
{
    return ulid_is_zero(&t->project);
}

static uint64_t hash_of(ensign_slice_t a, ensign_slice_t b)
{
    uint64_t h = 0xcbf29ce484222325u;       /* FNV-1a */
    for (size_t i = 0; i < a.len; i++) h = (h ^ a.ptr[i]) * 0x100000001b3u;
    for (size_t i = 0; i < b.len; i++) h = (h ^ b.ptr[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

/* Each event that comes, and each that goes, is looked up by its topic's id. */
static uint64_t hash_of_id(const ulid_t *id)
{
    uint64_t parts[2], h;

    memcpy(parts, id->b, sizeof parts);
    h = (parts[0] ^ parts[1]) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}

static uint64_t hash_by_id(const topic_t *x)
{
    return hash_of_id(&x->id);
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
        if (topic_is_gone(t->all[i])) continue;
        table_insert(&t->by_id, t->all[i], hash_by_id(t->all[i]));
        table_insert(&t->by_name, t->all[i], hash_by_name(t->all[i]));
    }
}

topic_t *topics_by_id(const topics_t *t, const ulid_t *id)
{
    size_t at = (size_t)hash_of_id(id) & (t->by_id.cap - 1);

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
    char again[HASH_TEXT + 3];
    name_hash_t hash;
    size_t len;

    if (!base64url_parse(text, hash.b, sizeof hash.b, &len) || len != sizeof hash.b) return NULL;
    base64url(slice_of(hash.b, len), again);
    if (!slice_is(text, again)) return NULL;    /* the last digit has bits to spare */
    for (size_t i = 0; i < t->count; i++) {
        topic_t *x = t->all[i];
        if (memcmp(x->hash.b, hash.b, len) == 0 && ulid_eq(&x->project, project)) return x;
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

static void take_message(topic_t *x, ensign_slice_t message)
{
    msg_topic_t m;

    free(x->message);
    x->message = (uint8_t *)slice_dup(message);
    x->message_len = message.len;
    if (!msg_decode(MSG_TOPIC, &m, message)) return;
    x->readonly = m.readonly;
    x->state = m.status;
}

void topic_dead_key(const ulid_t *id, buf_t *out)
{
    buf_put(out, TOPIC_DEAD_PREFIX, sizeof TOPIC_DEAD_PREFIX - 1);
    buf_put(out, id->b, sizeof id->b);
}

void topic_destroy_key(const ulid_t *id, buf_t *out)
{
    buf_put(out, TOPIC_DESTROY_PREFIX, sizeof TOPIC_DESTROY_PREFIX - 1);
    buf_put(out, id->b, sizeof id->b);
}

static bool is_dead(const topics_t *t, const ulid_t *id)
{
    buf_t key = { NULL, 0, 0, 0 };
    bool marked;

    topic_dead_key(id, &key);
    marked = log_get(t->log, buf_bytes(&key), NULL, NULL);
    buf_free(&key);
    return marked;
}

static topic_t *remember(topics_t *t, const ulid_t *id, const ulid_t *project, ensign_slice_t name)
{
    topic_t *x = x_alloc(sizeof *x);

    x->id = *id;
    x->project = *project;
    x->name = slice_dup(name);
    x->hash = name_hash(name);
    x->index = t->count;
    x->dead_letters = is_dead(t, id);
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

/* ---- records */

static bool read_key(ensign_slice_t key, ulid_t *project, ensign_slice_t *name)
{
    size_t n = sizeof TOPIC_PREFIX - 1;

    if (key.len < n + sizeof project->b) return false;
    ulid_from(slice_of(key.ptr + n, sizeof project->b), project);
    *name = slice_of(key.ptr + n + sizeof project->b, key.len - n - sizeof project->b);
    return true;
}

void topic_record_key(const ulid_t *project, ensign_slice_t name, buf_t *out)
{
    buf_put(out, TOPIC_PREFIX, sizeof TOPIC_PREFIX - 1);
    buf_put(out, project->b, sizeof project->b);
    buf_put(out, name.ptr, name.len);
}

bool topic_record_read(ensign_slice_t key, ensign_slice_t value, ulid_t *project, ulid_t *id,
                       ensign_slice_t *name)
{
    msg_topic_t m;
    return read_key(key, project, name) && msg_decode(MSG_TOPIC, &m, value) && ulid_from(m.id, id);
}

static void tell(const topics_t *t, topic_t *x)
{
    if (t->changed) t->changed(t->user, x);
}

static void forget(topics_t *t, topic_t *x)
{
    memset(&x->project, 0, sizeof x->project);
    free(x->message);
    x->message = NULL;
    x->message_len = 0;
    tables_make(t, t->by_id.cap);
    tell(t, x);
}

/* One that was destroyed and made again meanwhile has another id. Two of the same id are made only when two
   clients choose it at the same moment: the first one has it. */
static void on_record(void *user, ensign_slice_t key, ensign_slice_t value)
{
    topics_t *t = user;
    ulid_t project, id;
    ensign_slice_t name;
    topic_t *x;

    if (!read_key(key, &project, &name)) return;
    x = topics_by_name(t, &project, name);
    if (value.len == 0) {
        if (x) forget(t, x);
        return;
    }
    if (!topic_record_read(key, value, &project, &id, &name) || (!x && topics_by_id(t, &id))) {
        log_line("the record of topic %.*s cannot be used", (int)name.len, (const char *)name.ptr);
        return;
    }
    if (x && !ulid_eq(&x->id, &id)) {
        forget(t, x);
        x = NULL;
    }
    if (!x) x = remember(t, &id, &project, name);
    take_message(x, value);
    tell(t, x);
}

static void on_dead(void *user, ensign_slice_t key, ensign_slice_t value)
{
    size_t n = sizeof TOPIC_DEAD_PREFIX - 1;
    ulid_t id;
    topic_t *x = NULL;

    if (ulid_from(slice_of(key.ptr + n, key.len - n), &id)) x = topics_by_id(user, &id);
    if (x) x->dead_letters = value.len > 0;
}

static bool load_record(void *user, ensign_slice_t key, ensign_slice_t value)
{
    on_record(user, key, value);
    return true;
}

void topics_open(topics_t *t, log_t *l)
{
    memset(t, 0, sizeof *t);
    t->log = l;
    tables_make(t, 64);
    log_each(l, TOPIC_PREFIX, load_record, t);
    t->watch.prefix = TOPIC_PREFIX;
    t->watch.changed = on_record;
    t->watch.user = t;
    log_watch(l, &t->watch);
    t->dead_watch.prefix = TOPIC_DEAD_PREFIX;
    t->dead_watch.changed = on_dead;
    t->dead_watch.user = t;
    log_watch(l, &t->dead_watch);
}

topic_t *topics_gone(const topics_t *t, const ulid_t *id)
{
    for (size_t i = 0; i < t->count; i++)
        if (ulid_eq(&t->all[i]->id, id) && topic_is_gone(t->all[i])) return t->all[i];
    return NULL;
}

void topics_close(topics_t *t)
{
    if (t->log) log_unwatch(t->log, &t->watch);
    if (t->log) log_unwatch(t->log, &t->dead_watch);
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
    if (name.len > TOPIC_NAME_MAX) return "topic name is too long";
    if (!is_letter(name.ptr[0])) return "topic name is invalid";
    for (size_t i = 1; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        if (!is_letter(c) && !(c >= '0' && c <= '9') && c != '.' && c != '-' && c != '_')
            return "topic name is invalid";
    }
    return NULL;
}
