/* numbers.c - see numbers.h */
#include "reply.h"
#include "numbers.h"
#include "restore.h"
#include "walk.h"
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
    uint64_t counted_to;                /* every event up to this offset is counted */
    uint64_t last;                      /* the offset of the last one counted, and its id; 0: none */
    rlid_t   last_id;
    bool     counting;                  /* a job is about it */
    bool     counted;                   /* such a job came to its end once */
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

/* ---- counted */

typedef struct counter_t {
    job_t    job;
    walk_t   walk;
    uint64_t events;                    /* those that it has looked at */
} counter_t;

/* *value is what the type is read from: the event itself, or a duplicate in `whole`. */
static job_result_t whole_event(counter_t *c, ensign_slice_t record, const msg_event_wrapper_t *w,
                                buf_t *whole, ensign_slice_t *value)
{
    ensign_slice_t original;
    rlid_t id;
    job_result_t result;

    *value = w->is_duplicate ? slice_of(NULL, 0) : record;
    if (!w->is_duplicate || w->duplicate_id.len != sizeof id.b) return JOB_MORE;
    memcpy(id.b, w->duplicate_id.ptr, sizeof id.b);
    result = walk_original(&c->walk, &id, &original);
    if (result == JOB_MORE && original.len && restore_duplicate(record, original, whole))
        *value = buf_bytes(whole);
    return result;
}

/* The service stores neither the time of the commit nor the publisher's own id, but the event's. */
static size_t size_of(msg_event_wrapper_t w)
{
    size_t n = 0;
    w.has_committed = false;
    w.local_id.len = 0;
    msg_size(MSG_EVENT_WRAPPER, &w, &n);
    return n + msg_bytes_size(MSG_EVENT_WRAPPER_ID_TAG, sizeof(rlid_t));
}

static void add(numbers_t *n, const msg_event_wrapper_t *w, ensign_slice_t whole)
{
    size_t size = size_of(*w);
    type_numbers_t *type = wrapper_type(n, whole);

    n->bytes += size;
    n->duplicates += w->is_duplicate;
    if (!type) return;
    type->events++;
    type->bytes += size;
    type->duplicates += w->is_duplicate;
}

static job_result_t count(numbers_t *n, counter_t *c, const log_event_t *e)
{
    buf_t buf = { NULL, 0, 0, 0 };
    ensign_slice_t whole;
    msg_event_wrapper_t w;
    job_result_t result = JOB_MORE;

    if (!msg_decode(MSG_EVENT_WRAPPER, &w, e->value)) n->bytes += e->value.len;
    else if ((result = whole_event(c, e->value, &w, &buf, &whole)) == JOB_MORE) add(n, &w, whole);
    buf_free(&buf);
    if (result != JOB_MORE) return result;
    n->events++;
    n->last = e->offset;
    n->last_id = e->id;
    return JOB_MORE;
}

static job_result_t count_step(service_t *s, job_t *j)
{
    counter_t *c = (counter_t *)j;
    numbers_t *n = numbers_of(s, j->topic);
    job_result_t result;
    log_event_t e;

    for (size_t i = 0; (result = walk_peek(&c->walk, &e)) == JOB_MORE && i < WALK_RECORDS; i++) {
        result = count(n, c, &e);
        if (result != JOB_MORE) return result;
        walk_take(&c->walk);
        n->counted_to = e.offset;
        c->events++;
    }
    if (result != JOB_DONE) return result;
    n->counted_to = c->walk.until;
    if (c->events || !n->counted) n->modified = wall_in(0);
    n->counted = true;
    return JOB_DONE;
}

/* The topic may be gone, and its numbers with it. */
static void count_end(service_t *s, job_t *j, bool done)
{
    counter_t *c = (counter_t *)j;
    const topic_t *t = j->topic;

    if (t->index < s->numbers_cap && s->numbers[t->index]) s->numbers[t->index]->counting = false;
    walk_free(&c->walk);
    free(c);
    jobs_wake_all(s, t, done);
}

static void start_counting(service_t *s, topic_t *t, numbers_t *n, uint64_t until)
{
    counter_t *c = x_alloc(sizeof *c);

    n->counting = true;
    c->job.step = count_step;
    c->job.end = count_end;
    c->job.topic = t;
    walk_start(&c->walk, s, &c->job, t, n->counted_to, until);
    jobs_add(s, &c->job);
}

job_result_t numbers_count(service_t *s, topic_t *t, uint64_t until, job_t *waiter)
{
    numbers_t *n = numbers_of(s, t);
    bool failed = waiter->wake_failed;

    waiter->wake_failed = false;
    if (failed) return JOB_FAILED;
    if (n->counted && n->counted_to >= until) return JOB_DONE;
    if (!n->counting) start_counting(s, t, n, until);
    waiter->waits_for = t;
    return JOB_WAIT;
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
    if (n->last) info.event_offset_id = slice_of(n->last_id.b, sizeof n->last_id.b);
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

uint64_t numbers_last(service_t *s, const topic_t *t)
{
    return numbers_of(s, t)->last;
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
