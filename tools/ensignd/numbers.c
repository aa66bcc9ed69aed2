/* numbers.c - see numbers.h */
#include "reply.h"
#include "numbers.h"
#include "restore.h"
#include <stdlib.h>
#include <string.h>

typedef struct type_numbers_t {
    char    *name;
    size_t   name_len;
    uint32_t major, minor, patch;
    int32_t  mimetype;
    uint64_t events, duplicates, bytes;
} type_numbers_t;

struct numbers_t {
    uint8_t  after[EVENT_KEY];          /* the last one counted */
    bool     begun, counted;            /* `after` is one; the end was reached once */
    uint64_t events, duplicates, bytes;
    type_numbers_t *types;
    size_t   type_count;
    msg_timestamp_t modified;
};

static numbers_t *numbers_of(service_t *s, const topic_t *t)
{
    if (t->index >= s->numbers_cap) {
        size_t cap = 2 * s->numbers_cap > t->index ? 2 * s->numbers_cap : t->index + 64;
        s->numbers = x_realloc(s->numbers, cap * sizeof *s->numbers);
        for (size_t i = s->numbers_cap; i < cap; i++) s->numbers[i] = NULL;
        s->numbers_cap = cap;
    }
    if (!s->numbers[t->index]) s->numbers[t->index] = x_alloc(sizeof **s->numbers);
    return s->numbers[t->index];
}

static bool is_type(const type_numbers_t *n, const msg_type_t *t, int32_t mimetype)
{
    return n->mimetype == mimetype && n->major == t->major_version && n->minor == t->minor_version &&
           n->patch == t->patch_version && n->name_len == t->name.len &&
           memcmp(n->name, t->name.ptr, n->name_len) == 0;
}

/* NULL: there are too many already. */
static type_numbers_t *type_of(numbers_t *n, const msg_event_t *e)
{
    msg_type_t t = msg_event_type(e);
    type_numbers_t *added;

    if (t.name.len == 0) t.name.ptr = (const uint8_t *)"";
    for (size_t i = 0; i < n->type_count; i++)
        if (is_type(&n->types[i], &t, e->mimetype)) return &n->types[i];
    if (n->type_count == TYPES_MAX) return NULL;
    n->types = x_realloc(n->types, (n->type_count + 1) * sizeof *n->types);
    added = &n->types[n->type_count++];
    memset(added, 0, sizeof *added);
    added->name = slice_dup(t.name);
    added->name_len = t.name.len;
    added->major = t.major_version;
    added->minor = t.minor_version;
    added->patch = t.patch_version;
    added->mimetype = e->mimetype;
    return added;
}

/* The type that a wrapper counts for. NULL: its event is empty or cannot be read. */
static type_numbers_t *wrapper_type(numbers_t *n, ensign_slice_t wrapper)
{
    msg_event_wrapper_t w;
    msg_event_t e;

    if (!msg_decode(MSG_EVENT_WRAPPER, &w, wrapper) || w.event.len == 0 ||
        !msg_decode(MSG_EVENT, &e, w.event))
        return NULL;
    return type_of(n, &e);
}

static bool duplicate_type(service_t *s, const topic_t *t, const msg_event_wrapper_t *w,
                           ensign_slice_t record, type_numbers_t **type, why_t *why)
{
    numbers_t *n = numbers_of(s, t);
    uint8_t key[EVENT_KEY];
    buf_t original = { NULL, 0, 0, 0 }, whole = { NULL, 0, 0, 0 };
    bool ok;

    *type = NULL;
    if (w->duplicate_id.len != 10) return true;
    event_key(t, slice_of(w->duplicate_id.ptr, 10), key);
    ok = store_get(s->topics->store, STORE_EVENT, slice_of(key, sizeof key), &original, why);
    if (ok && buf_len(&original) && restore_duplicate(record, buf_bytes(&original), &whole))
        *type = wrapper_type(n, buf_bytes(&whole));
    buf_free(&original);
    buf_free(&whole);
    return ok;
}

/* The service stores neither the time of the commit nor the publisher's own id. */
static size_t size_of(msg_event_wrapper_t w)
{
    size_t n = 0;
    w.has_committed = false;
    w.local_id.len = 0;
    msg_size(MSG_EVENT_WRAPPER, &w, &n);
    return n;
}

static bool count(service_t *s, const topic_t *t, ensign_slice_t record, why_t *why)
{
    numbers_t *n = numbers_of(s, t);
    msg_event_wrapper_t w;
    type_numbers_t *type;
    size_t size = record.len;

    n->events++;
    if (!msg_decode(MSG_EVENT_WRAPPER, &w, record)) {
        n->bytes += size;
        return true;
    }
    size = size_of(w);
    n->bytes += size;
    if (w.is_duplicate) n->duplicates++;
    if (!w.is_duplicate) type = wrapper_type(n, record);
    else if (!duplicate_type(s, t, &w, record, &type, why)) return false;
    if (!type) return true;
    type->events++;
    type->bytes += size;
    if (w.is_duplicate) type->duplicates++;
    return true;
}

bool numbers_advance(service_t *s, const topic_t *t, const rlid_t *until, bool *more, why_t *why)
{
    numbers_t *n = numbers_of(s, t);
    walk_t w;
    bool ok;

    memset(&w, 0, sizeof w);
    walk_start(&w, t, until);
    w.begun = n->begun;
    memcpy(w.after, n->after, EVENT_KEY);
    ok = walk_next(&w, s->topics->store, why);
    for (size_t i = 0; ok && i < w.count; i++) {
        ok = count(s, t, walk_value(&w, i), why);
        if (ok) memcpy(n->after, walk_key(&w, i).ptr, EVENT_KEY);
        n->begun = n->begun || ok;
    }
    *more = w.count > 0;
    if (*more || !n->counted) n->modified = wall_in(0);
    n->counted = true;
    walk_free(&w);
    return ok;
}

/* ---- told */

static void put_type(buf_t *out, const type_numbers_t *n)
{
    msg_event_type_info_t info;
    buf_t b = { NULL, 0, 0, 0 };

    memset(&info, 0, sizeof info);
    info.has_type = true;
    info.type.name = slice_of(n->name, n->name_len);
    info.type.major_version = n->major;
    info.type.minor_version = n->minor;
    info.type.patch_version = n->patch;
    info.mimetype = n->mimetype;
    info.events = n->events;
    info.duplicates = n->duplicates;
    info.data_size_bytes = n->bytes;
    if (msg_put(&b, MSG_EVENT_TYPE_INFO, &info))
        msg_put_field(out, MSG_TOPIC_INFO_TYPES_TAG, buf_bytes(&b));
    buf_free(&b);
}

void numbers_put(service_t *s, const topic_t *t, buf_t *out, sums_t *sums)
{
    numbers_t *n = numbers_of(s, t);
    msg_topic_info_t info;
    buf_t types = { NULL, 0, 0, 0 };

    memset(&info, 0, sizeof info);
    info.topic_id = slice_of(t->id.b, sizeof t->id.b);
    info.project_id = slice_of(t->project.b, sizeof t->project.b);
    if (n->begun) info.event_offset_id = slice_of(n->after + 16, 10);
    sums->events += info.events = n->events;
    sums->duplicates += info.duplicates = n->duplicates;
    sums->bytes += info.data_size_bytes = n->bytes;
    for (size_t i = 0; i < n->type_count; i++) put_type(&types, &n->types[i]);
    info.types.ptr = types.ptr;
    info.types.len = buf_len(&types);
    info.has_modified = n->counted;
    info.modified = n->modified;
    msg_put(out, MSG_TOPIC_INFO, &info);
    buf_free(&types);
}

uint64_t numbers_events(service_t *s, const topic_t *t)
{
    return numbers_of(s, t)->events;
}

void numbers_no_duplicates(service_t *s, const topic_t *t)
{
    numbers_t *n = numbers_of(s, t);
    n->duplicates = 0;
    for (size_t i = 0; i < n->type_count; i++) n->types[i].duplicates = 0;
}

void numbers_duplicate(service_t *s, const topic_t *t, ensign_slice_t wrapper)
{
    numbers_t *n = numbers_of(s, t);
    type_numbers_t *type = wrapper_type(n, wrapper);

    n->duplicates++;
    if (type) type->duplicates++;
}

static void free_one(numbers_t *n)
{
    if (!n) return;
    for (size_t i = 0; i < n->type_count; i++) free(n->types[i].name);
    free(n->types);
    free(n);
}

void numbers_forget(service_t *s, const topic_t *t)
{
    if (t->index >= s->numbers_cap) return;
    free_one(s->numbers[t->index]);
    s->numbers[t->index] = NULL;
}

void numbers_free(service_t *s)
{
    for (size_t i = 0; i < s->numbers_cap; i++) free_one(s->numbers[i]);
    free(s->numbers);
}
