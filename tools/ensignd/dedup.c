/* dedup.c - see dedup.h */
#include "messages.h"
#include "dedup.h"
#include <stdlib.h>
#include <string.h>

typedef struct entry_t { ensign_slice_t key, value; size_t place; } entry_t;

/* A wrapper, its event, and the metadata sorted by key; of a key that stands there twice, the last. */
typedef struct opened_t {
    msg_event_wrapper_t wrapper;
    msg_event_t event;
    entry_t *entries;
    size_t count;
} opened_t;

static int by_key_and_place(const void *a, const void *b)
{
    const entry_t *x = a, *y = b;
    int sign = slice_order(x->key, y->key);
    return sign ? sign : (x->place > y->place) - (x->place < y->place);
}

static int by_key(const void *key, const void *entry)
{
    return slice_order(*(const ensign_slice_t *)key, ((const entry_t *)entry)->key);
}

static void open_metadata(opened_t *o)
{
    msg_event_metadata_entry_t e;
    ensign_slice_t item;
    size_t at = 0, n = 0, cap = 0;

    while (msg_next(o->event.metadata, MSG_EVENT_METADATA_TAG, &at, &item)) {
        if (!msg_decode(MSG_EVENT_METADATA_ENTRY, &e, item)) continue;
        if (n == cap) {
            cap = cap ? 2 * cap : 16;
            o->entries = x_realloc(o->entries, cap * sizeof *o->entries);
        }
        o->entries[n].key = e.key;
        o->entries[n].value = e.value;
        o->entries[n].place = n;
        n++;
    }
    if (n) qsort(o->entries, n, sizeof *o->entries, by_key_and_place);
    for (size_t i = 0; i < n; i++) {
        if (i + 1 < n && slice_order(o->entries[i].key, o->entries[i + 1].key) == 0) continue;
        o->entries[o->count++] = o->entries[i];
    }
}

static bool open_event(opened_t *o, ensign_slice_t wrapper)
{
    memset(o, 0, sizeof *o);
    if (!msg_decode(MSG_EVENT_WRAPPER, &o->wrapper, wrapper) || o->wrapper.event.len == 0 ||
        !msg_decode(MSG_EVENT, &o->event, o->wrapper.event))
        return false;
    open_metadata(o);
    return true;
}

static void close_event(opened_t *o)
{
    free(o->entries);
}

/* A key that is not there has the empty value. */
static ensign_slice_t value_of(const opened_t *o, ensign_slice_t key)
{
    const entry_t *e = o->count ? bsearch(&key, o->entries, o->count, sizeof *o->entries, by_key) : NULL;
    return e ? e->value : slice_of(NULL, 0);
}

static bool same_type(const msg_type_t *a, const msg_type_t *b)
{
    return slice_eq(a->name, b->name) && a->major_version == b->major_version &&
           a->minor_version == b->minor_version && a->patch_version == b->patch_version;
}

/* ---- the policy */

bool dedup_policy_read(ensign_slice_t topic, dedup_policy_t *out)
{
    msg_topic_t t;
    ensign_slice_t span;
    ensign_slice_t key;
    size_t at = 0;

    memset(out, 0, sizeof *out);
    if (!msg_decode(MSG_TOPIC, &t, topic)) return false;
    out->strategy = t.deduplication.strategy ? (dedup_strategy_t)t.deduplication.strategy : DEDUP_NONE;
    out->latest = t.deduplication.offset == MSG_DEDUPLICATION_OFFSET_POSITION_OFFSET_LATEST;
    out->overwrite = t.deduplication.overwrite_duplicate;
    span = t.deduplication.keys;
    buf_put(&out->held, span.ptr, span.len);
    span.ptr = out->held.ptr;
    while (msg_next(span, MSG_DEDUPLICATION_KEYS_TAG, &at, &key)) {
        out->keys = x_realloc(out->keys, (out->key_count + 1) * sizeof *out->keys);
        out->keys[out->key_count++] = key;
    }
    return true;
}

void dedup_policy_free(dedup_policy_t *p)
{
    free(p->keys);
    buf_free(&p->held);
    memset(p, 0, sizeof *p);
}

/* ---- candidates: a hash over what the policy looks at */

static void put(buf_t *b, ensign_slice_t v)
{
    buf_put(b, v.ptr, v.len);
}

static void put_le32(buf_t *b, uint32_t v)
{
    uint8_t bytes[4];
    for (unsigned i = 0; i < 4; i++) bytes[i] = (uint8_t)(v >> (8 * i) & 0xff);
    buf_put(b, bytes, sizeof bytes);
}

static void put_all_but_times(buf_t *b, const opened_t *o)
{
    msg_type_t t = msg_event_type(&o->event);

    put(b, o->event.data);
    for (size_t i = 0; i < o->count; i++) {
        put(b, o->entries[i].key);
        put(b, o->entries[i].value);
    }
    put_le32(b, (uint32_t)o->event.mimetype);
    put(b, t.name);
    put_le32(b, t.major_version);
    put_le32(b, t.minor_version);
    put_le32(b, t.patch_version);
}

static void put_keys(buf_t *b, const dedup_policy_t *p, const opened_t *o)
{
    for (size_t i = 0; i < p->key_count; i++) {
        put(b, p->keys[i]);
        put(b, value_of(o, p->keys[i]));
    }
}

bool dedup_hash(const dedup_policy_t *p, ensign_slice_t wrapper, name_hash_t *out)
{
    buf_t b = { NULL, 0, 0, 0 };
    opened_t o;

    if (!open_event(&o, wrapper)) return false;
    if (p->strategy == DEDUP_STRICT) put_all_but_times(&b, &o);
    if (p->strategy == DEDUP_KEY_GROUPED || p->strategy == DEDUP_UNIQUE_KEY) put_keys(&b, p, &o);
    if (p->strategy == DEDUP_DATAGRAM || p->strategy == DEDUP_KEY_GROUPED) put(&b, o.event.data);
    *out = name_hash(buf_bytes(&b));
    buf_free(&b);
    close_event(&o);
    return true;
}

/* ---- and without a doubt */

static void put_part(buf_t *b, ensign_slice_t v)
{
    put_le32(b, (uint32_t)v.len);
    put(b, v);
}

static void put_parts(buf_t *b, const dedup_policy_t *p, const opened_t *o)
{
    msg_type_t t = msg_event_type(&o->event);

    if (p->strategy != DEDUP_UNIQUE_KEY) put_part(b, o->event.data);
    for (size_t i = 0; i < p->key_count; i++) put_part(b, value_of(o, p->keys[i]));
    if (p->strategy != DEDUP_STRICT) return;
    for (size_t i = 0; i < o->count; i++) {
        put_part(b, o->entries[i].key);
        put_part(b, o->entries[i].value);
    }
    put_part(b, t.name);
    put_le32(b, (uint32_t)o->event.mimetype);
    put_le32(b, t.major_version);
    put_le32(b, t.minor_version);
    put_le32(b, t.patch_version);
}

bool dedup_digest(const dedup_policy_t *p, ensign_slice_t wrapper, dedup_digest_t *out)
{
    buf_t b = { NULL, 0, 0, 0 };
    opened_t o;

    if (!open_event(&o, wrapper)) return false;
    put_parts(&b, p, &o);
    sha256(buf_bytes(&b), out->all);
    sha256(o.event.data, out->data);
    buf_free(&b);
    close_event(&o);
    return true;
}

/* ---- the decision */

static bool same_data(const opened_t *a, const opened_t *b)
{
    return slice_eq(a->event.data, b->event.data);
}

static bool same_keys(const dedup_policy_t *p, const opened_t *a, const opened_t *b)
{
    for (size_t i = 0; i < p->key_count; i++)
        if (!slice_eq(value_of(a, p->keys[i]), value_of(b, p->keys[i]))) return false;
    return true;
}

static bool same_but_times(const opened_t *a, const opened_t *b)
{
    msg_type_t x = msg_event_type(&a->event), y = msg_event_type(&b->event);

    if (a->event.mimetype != b->event.mimetype || a->count != b->count || !same_type(&x, &y)) return false;
    for (size_t i = 0; i < a->count; i++)
        if (!slice_eq(a->entries[i].key, b->entries[i].key) ||
            !slice_eq(a->entries[i].value, b->entries[i].value))
            return false;
    return same_data(a, b);
}

static bool same_opened(const dedup_policy_t *p, const opened_t *a, const opened_t *b)
{
    switch (p->strategy) {
    case DEDUP_STRICT: return same_but_times(a, b);
    case DEDUP_DATAGRAM: return same_data(a, b);
    case DEDUP_KEY_GROUPED: return same_keys(p, a, b) && same_data(a, b);
    case DEDUP_UNIQUE_KEY: return same_keys(p, a, b);
    case DEDUP_NONE:
    case DEDUP_UNIQUE_FIELD: break;
    }
    return false;
}

bool dedup_same(const dedup_policy_t *p, ensign_slice_t a, ensign_slice_t b)
{
    opened_t x, y;
    bool same = open_event(&x, a);

    if (!same) return false;
    same = open_event(&y, b);
    if (same) {
        same = same_opened(p, &x, &y);
        close_event(&y);
    }
    close_event(&x);
    return same;
}

/* ---- what is stored of a duplicate */

/* The metadata whose values differ from the original's. */
static void put_differences(buf_t *b, const opened_t *o, const opened_t *original)
{
    msg_event_metadata_entry_t e;
    buf_t entry = { NULL, 0, 0, 0 };

    memset(&e, 0, sizeof e);
    for (size_t i = 0; i < o->count; i++) {
        if (slice_eq(o->entries[i].value, value_of(original, o->entries[i].key))) continue;
        e.key.ptr = o->entries[i].key.ptr;
        e.key.len = o->entries[i].key.len;
        e.value.ptr = o->entries[i].value.ptr;
        e.value.len = o->entries[i].value.len;
        entry.start = entry.end = 0;
        if (msg_put(&entry, MSG_EVENT_METADATA_ENTRY, &e))
            msg_put_field(b, MSG_EVENT_METADATA_TAG, buf_bytes(&entry));
    }
    buf_free(&entry);
}

/* The event without what the original says as well. */
static bool put_rest(buf_t *out, const dedup_policy_t *p, const opened_t *o, const opened_t *original)
{
    msg_event_t e = o->event;
    buf_t metadata = { NULL, 0, 0, 0 };
    bool ok;

    if (p->strategy != DEDUP_UNIQUE_KEY || same_data(o, original)) e.data.len = 0;
    put_differences(&metadata, o, original);
    e.metadata.ptr = metadata.ptr;
    e.metadata.len = buf_len(&metadata);
    if (e.mimetype == original->event.mimetype) e.mimetype = 0;
    if (original->event.has_type && same_type(&e.type, &original->event.type)) e.has_type = false;
    ok = msg_put(out, MSG_EVENT, &e);
    buf_free(&metadata);
    return ok;
}

bool dedup_needs_outline(const dedup_policy_t *p)
{
    return p->strategy != DEDUP_STRICT && !p->overwrite;
}

static bool shrink(const dedup_policy_t *p, opened_t *o, const opened_t *original, const rlid_t *original_id,
                   buf_t *out)
{
    msg_event_wrapper_t w = o->wrapper;
    buf_t event = { NULL, 0, 0, 0 };
    bool ok = true;

    w.is_duplicate = true;
    w.duplicate_id = slice_of(original_id->b, sizeof original_id->b);
    if (!dedup_needs_outline(p))
        w.has_encryption = w.has_compression = false;
    else ok = put_rest(&event, p, o, original);
    w.event.ptr = event.ptr;
    w.event.len = buf_len(&event);
    ok = ok && msg_put(out, MSG_EVENT_WRAPPER, &w);
    buf_free(&event);
    return ok;
}

bool dedup_shrink(const dedup_policy_t *p, ensign_slice_t wrapper, ensign_slice_t original,
                  const rlid_t *original_id, buf_t *out)
{
    opened_t x, y;
    bool ok = open_event(&x, wrapper);

    if (!ok) return false;
    ok = open_event(&y, original);
    if (ok) {
        ok = shrink(p, &x, &y, original_id, out);
        close_event(&y);
    }
    close_event(&x);
    return ok;
}

bool dedup_original(ensign_slice_t wrapper, rlid_t *original)
{
    msg_event_wrapper_t w;

    if (!msg_decode(MSG_EVENT_WRAPPER, &w, wrapper) || !w.is_duplicate ||
        w.duplicate_id.len != sizeof original->b)
        return false;
    memcpy(original->b, w.duplicate_id.ptr, sizeof original->b);
    return true;
}

bool dedup_unmark(ensign_slice_t wrapper, buf_t *out)
{
    msg_event_wrapper_t w;

    if (!msg_decode(MSG_EVENT_WRAPPER, &w, wrapper)) return false;
    w.is_duplicate = false;
    w.duplicate_id.len = 0;
    return msg_put(out, MSG_EVENT_WRAPPER, &w);
}

bool dedup_data(ensign_slice_t wrapper, ensign_slice_t *data)
{
    msg_event_wrapper_t w;
    msg_event_t e;

    if (!msg_decode(MSG_EVENT_WRAPPER, &w, wrapper) || !msg_decode(MSG_EVENT, &e, w.event)) return false;
    *data = e.data;
    return true;
}

bool dedup_outline(ensign_slice_t wrapper, ensign_slice_t data, buf_t *out)
{
    msg_event_wrapper_t w;
    msg_event_t e;
    buf_t event = { NULL, 0, 0, 0 };
    bool ok;

    if (!msg_decode(MSG_EVENT_WRAPPER, &w, wrapper) || !msg_decode(MSG_EVENT, &e, w.event)) return false;
    memset(&w, 0, sizeof w);
    e.data = data;
    e.has_created = true;       /* so that it is not empty */
    ok = msg_put(&event, MSG_EVENT, &e);
    w.event = buf_bytes(&event);
    ok = ok && msg_put(out, MSG_EVENT_WRAPPER, &w);
    buf_free(&event);
    return ok;
}
