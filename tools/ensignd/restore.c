/* restore.c - see restore.h
 *
 * What a duplicate's event does not say, its original's does: data, MIME type, type, and the metadata of keys
 * that it lacks. Those fields are put behind the duplicate's own, as they lie in the original: where both
 * have one, the duplicate's is empty, and of two the later counts. */
#include "messages.h"
#include "restore.h"
#include <stdlib.h>
#include <string.h>

typedef struct keys_t { ensign_slice_t *at; size_t count, cap; } keys_t;

static bool read_key(ensign_slice_t entry, ensign_slice_t *key)
{
    msg_event_metadata_entry_t e;
    if (!msg_decode(MSG_EVENT_METADATA_ENTRY, &e, entry)) return false;
    *key = e.key;
    return true;
}

/* Sorted: there may be very many. */
static keys_t keys_of(ensign_slice_t metadata)
{
    keys_t keys = { NULL, 0, 0 };
    ensign_slice_t entry, key;
    size_t at = 0;

    while (msg_next(metadata, MSG_EVENT_METADATA_TAG, &at, &entry)) {
        if (!read_key(entry, &key)) continue;
        if (keys.count == keys.cap) {
            keys.cap = keys.cap ? 2 * keys.cap : 16;
            keys.at = x_realloc(keys.at, keys.cap * sizeof *keys.at);
        }
        keys.at[keys.count++] = key;
    }
    if (keys.count) qsort(keys.at, keys.count, sizeof *keys.at, slice_compare);
    return keys;
}

/* Whether this field of the original's event is the duplicate's too. */
static bool inherits(const msg_event_t *own, const keys_t *keys, const msg_item_t *field)
{
    ensign_slice_t key;

    switch (field->tag) {
    case MSG_EVENT_DATA_TAG: return own->data.len == 0;
    case MSG_EVENT_MIMETYPE_TAG: return own->mimetype == 0;
    case MSG_EVENT_TYPE_TAG: return !own->has_type;
    case MSG_EVENT_METADATA_TAG:
        return read_key(field->value, &key) &&
               (keys->count == 0 || !bsearch(&key, keys->at, keys->count, sizeof key, slice_compare));
    default: return false;
    }
}

static bool merge_events(ensign_slice_t duplicate, ensign_slice_t original, buf_t *out)
{
    const uint8_t *p = original.ptr, *end = original.len ? p + original.len : p, *from;
    msg_event_t own, other;
    msg_item_t field;
    keys_t keys;

    if (!msg_decode(MSG_EVENT, &own, duplicate) || !msg_decode(MSG_EVENT, &other, original))
        return false;
    keys = keys_of(own.metadata);
    buf_put(out, duplicate.ptr, duplicate.len);
    for (from = p; p < end && msg_item_next(&p, end, &field); from = p)
        if (inherits(&own, &keys, &field)) buf_put(out, from, (size_t)(p - from));
    free(keys.at);
    return true;
}

bool restore_duplicate(ensign_slice_t duplicate, ensign_slice_t original, buf_t *out)
{
    msg_event_wrapper_t w, o;
    buf_t event = { NULL, 0, 0, 0 };
    bool ok;

    if (!msg_decode(MSG_EVENT_WRAPPER, &w, duplicate) || !msg_decode(MSG_EVENT_WRAPPER, &o, original))
        return false;
    if (w.event.len == 0) {
        w.event = o.event;
        w.has_encryption = o.has_encryption;
        w.encryption = o.encryption;
        w.has_compression = o.has_compression;
        w.compression = o.compression;
        return msg_put(out, MSG_EVENT_WRAPPER, &w);
    }
    ok = merge_events(w.event, o.event, &event);
    w.event.ptr = event.ptr;
    w.event.len = buf_len(&event);
    ok = ok && msg_put(out, MSG_EVENT_WRAPPER, &w);
    buf_free(&event);
    return ok;
}
