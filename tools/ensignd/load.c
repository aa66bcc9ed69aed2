/* load.c - --load: the lines of a dump, put into a log; see dump.h
 *
 * Owns   one batch of events of one project, of BATCH_EVENTS and BATCH_BYTES at most and one event more; the
 *        way from an old id to the event's offset here (moved.h); and 64 bytes for each duplicate whose
 *        original has not come yet, which is so with OFFSET_LATEST alone.
 * Moves  a line is read, then it is in the batch; the batch is appended, its duplicates are made to point at
 *        their originals, and only then its events count as loaded.
 * Duplicates   point at their original by its id, which is another one here. Where the original was loaded
 *        before, the event is appended with the new id at once. Where it is in the same batch or comes later,
 *        the event is appended with the old id and amended as soon as the original has its own. A log that
 *        cannot amend gets the batch first; there an original that comes later is an error. */
#include "dump.h"
#include "h2server.h"
#include "log_now.h"
#include "messages.h"
#include "moved.h"
#include "progress.h"
#include "stored_json.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_EVENTS 1024u
#define BATCH_BYTES 1048576u
#define VALUE_MOST (2 * MESSAGE_MAX)    /* bytes: more than any event that could be published */
#define LINE_MOST (64u << 20)           /* bytes: such an event, each byte of it escaped */
#define READ_BYTES 65536u
#define CHAINS 65536u                   /* a power of two */

typedef struct route_t { ulid_t from; topic_t *to; } route_t;

/* A duplicate that points at an event which is not there yet, by the old id. */
typedef struct waiting_t waiting_t;
struct waiting_t { rlid_t original; topic_t *topic; uint64_t offset, line; waiting_t *next; };

typedef struct entry_t {
    topic_t    *topic;
    size_t      at, len;                /* in the arena, from its start */
    uint64_t    line;
    event_ids_t ids;
    bool        waits;
} entry_t;

typedef struct load_t {
    log_t     *log;
    topics_t   topics;
    moved_t   *moved;
    loaded_t  *loaded;
    why_t     *why;                     /* without file and line */
    bool       line_is_right;           /* the reason lies elsewhere */
    int        fd;
    buf_t      in;
    size_t     scanned, taken;          /* of `in`: has no newline; is of the line before */
    bool       ended;
    uint64_t   line;
    route_t   *routes;                  /* from topics of the dump to those of the log, by id */
    size_t     route_count, route_cap;
    entry_t    entries[BATCH_EVENTS];
    log_new_t  events[BATCH_EVENTS];
    size_t     count;
    buf_t      arena;                   /* the values of the batch, and that of the next event */
    waiting_t **waiting;                /* chains, by the original's id; NULL: none */
    uint64_t   waiting_count;
    buf_t      amended;                 /* values */
    log_amend_t amends[BATCH_EVENTS];
    size_t     amend_at[BATCH_EVENTS], amend_count;
    progress_t progress;
} load_t;

/* The reason lies elsewhere: in the log, or in the file. */
static bool not_the_line(load_t *x, bool ok)
{
    if (!ok) x->line_is_right = true;
    return ok;
}

/* ---- lines */

static bool read_more(load_t *x)
{
    ssize_t n;

    do n = read(x->fd, buf_room(&x->in, READ_BYTES), READ_BYTES);
    while (n < 0 && errno == EINTR);
    if (n < 0) return not_the_line(x, fail(x->why, "it cannot be read: %s", strerror(errno)));
    x->in.end += (size_t)n;
    x->ended = n == 0;
    return true;
}

static bool too_long(load_t *x)
{
    x->line++;
    return fail(x->why, "it has more than %u bytes, and no event needs as many", LINE_MOST);
}

/* False: there is no other line (why stays empty), or it cannot be read. */
static bool next_line(load_t *x, ensign_slice_t *line)
{
    buf_take(&x->in, x->taken);
    x->taken = x->scanned = 0;
    for (;;) {
        ensign_slice_t all = buf_bytes(&x->in);
        size_t more = all.len - x->scanned;
        const uint8_t *end = more ? memchr(all.ptr + x->scanned, '\n', more) : NULL;
        if (end || (x->ended && all.len)) {
            *line = slice_of(all.ptr, end ? (size_t)(end - all.ptr) : all.len);
            x->taken = line->len + (end ? 1 : 0);
            x->line++;
            return true;
        }
        x->scanned = all.len;
        if (x->ended) return false;
        if (all.len > LINE_MOST) return too_long(x);
        if (!read_more(x)) return false;
    }
}

/* ---- topics of the dump */

static size_t route_at(const load_t *x, const ulid_t *from)
{
    size_t low = 0, high = x->route_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(x->routes[middle].from.b, from->b, sizeof from->b) < 0) low = middle + 1;
        else high = middle;
    }
    return low;
}

static topic_t *route_of(const load_t *x, const ulid_t *from)
{
    size_t at = route_at(x, from);
    return at < x->route_count && ulid_eq(&x->routes[at].from, from) ? x->routes[at].to : NULL;
}

static void route_put(load_t *x, const ulid_t *from, topic_t *to)
{
    size_t at = route_at(x, from);

    if (at == x->route_count || !ulid_eq(&x->routes[at].from, from)) {
        if (x->route_count == x->route_cap) {
            x->route_cap = x->route_cap ? 2 * x->route_cap : 64;
            x->routes = x_realloc(x->routes, x->route_cap * sizeof *x->routes);
        }
        memmove(&x->routes[at + 1], &x->routes[at], (x->route_count++ - at) * sizeof *x->routes);
        x->routes[at].from = *from;
    }
    x->routes[at].to = to;
}

/* The mark says whose dead letters the topic has; that one may have another id here. */
static bool mark_dead(load_t *x, const ulid_t *id, const ulid_t *dead_of)
{
    const topic_t *t = route_of(x, dead_of);
    const ulid_t *of = t ? &t->id : dead_of;
    buf_t key = { NULL, 0, 0, 0 };
    bool ok;

    topic_dead_key(id, &key);
    ok = not_the_line(x, log_put_now(x->log, buf_bytes(&key), slice_of(of->b, sizeof of->b), x->why));
    buf_free(&key);
    return ok;
}

/* As policy.c has it for a policy that is set. */
static bool check_policy(const load_t *x, const msg_deduplication_t *d)
{
    if (log_can_amend(x->log) || d->strategy <= MSG_DEDUPLICATION_STRATEGY_STRICT) return true;
    return fail(x->why,
                "deduplication: %s is not supported, since this store cannot change stored events; set NONE "
                "or STRICT before the dump", ensign_enum_name(ENSIGN_NAMES_DEDUP, d->strategy));
}

/* With its own id, if no other topic has that. NULL: it failed. */
static topic_t *make_topic(load_t *x, msg_topic_t *m, ensign_slice_t record, const ulid_t *dead_of)
{
    buf_t key = { NULL, 0, 0, 0 }, other = { NULL, 0, 0, 0 };
    ulid_t id, project;
    topic_t *t = NULL;
    bool ok;

    ulid_from(m->id, &id);
    ulid_from(m->project_id, &project);
    if (ulid_is_zero(&id) || topics_by_id(&x->topics, &id)) {
        id = ulid_new();
        m->id = slice_of(id.b, sizeof id.b);
        if (msg_put(&other, MSG_TOPIC, m)) record = buf_bytes(&other);
    }
    topic_record_key(&project, m->name, &key);
    ok = check_policy(x, &m->deduplication) && (!dead_of || mark_dead(x, &id, dead_of)) &&
         not_the_line(x, log_make_now(x->log, buf_bytes(&key), record, x->why));
    if (ok) t = topics_by_name(&x->topics, &project, m->name);
    if (ok && !t) fail(x->why, "name: the log has not taken the topic");
    if (t) x->loaded->topics++;
    buf_free(&key);
    buf_free(&other);
    return t;
}

static bool load_topic(load_t *x, json_t *o)
{
    buf_t record = { NULL, 0, 0, 0 };
    ulid_t id, project, dead_of;
    topic_t *t = NULL;
    msg_topic_t m;
    bool dead;

    if (topic_from_json(o, &record, &dead, &dead_of, x->why) && ulid_from_json(o, "id", &id, x->why) &&
        msg_decode(MSG_TOPIC, &m, buf_bytes(&record)) && ulid_from(m.project_id, &project)) {
        t = topics_by_name(&x->topics, &project, m.name);
        if (!t) t = make_topic(x, &m, buf_bytes(&record), dead ? &dead_of : NULL);
        if (t) route_put(x, &id, t);
    }
    buf_free(&record);
    return t != NULL;
}

/* One of a client_id that is there already is taken to be the same. */
static bool load_key(load_t *x, json_t *o)
{
    keyring_t there;
    api_key_t k;
    bool ok;

    memset(&k, 0, sizeof k);
    ok = key_from_json(o, &k, x->why);
    if (ok) {
        keyring_in_log(&there, x->log);
        if (!keyring_by_client(&there, k.client_id) && !keyring_by_id(&there, &k.id)) {
            ok = not_the_line(x, api_key_keep(x->log, &k, x->why));
            if (ok) x->loaded->keys++;
        }
        keyring_free(&there);
    }
    api_key_free(&k);
    return ok;
}

/* ---- duplicates */

typedef struct found_t { bool found; rlid_t id; } found_t;

static bool take_id(void *user, const log_event_t *e)
{
    found_t *f = user;

    f->found = true;
    f->id = e->id;
    return false;
}

/* The id that the event of a topic at this offset has here. */
static bool id_at(load_t *x, const topic_t *t, uint64_t offset, rlid_t *id)
{
    found_t f = { false, { { 0 } } };
    bool ok = log_read_one_now(x->log, &t->project, &t->id, offset, take_id, &f, x->why);

    if (ok && !f.found)
        ok = fail(x->why, "the event at offset %" PRIu64 " of topic %s is gone", offset, t->name);
    *id = f.id;
    return not_the_line(x, ok);
}

/* In the value itself: an id is as long as another. */
static void point_at(ensign_slice_t value, const rlid_t *original)
{
    msg_event_wrapper_t w;

    if (msg_decode(MSG_EVENT_WRAPPER, &w, value) && w.duplicate_id.len == sizeof original->b)
        memcpy((void *)(uintptr_t)w.duplicate_id.ptr, original->b, sizeof original->b);
}

static waiting_t **chain_of(const load_t *x, const rlid_t *id)
{
    uint32_t h = 0x811c9dc5u;           /* FNV-1a */

    for (size_t i = 0; i < sizeof id->b; i++) h = (h ^ id->b[i]) * 0x01000193u;
    return &x->waiting[(h ^ h >> 16) & (CHAINS - 1)];
}

static void wait_for_original(load_t *x, const entry_t *e, uint64_t offset)
{
    waiting_t *w = x_alloc(sizeof *w), **chain;

    if (!x->waiting) x->waiting = x_alloc(CHAINS * sizeof *x->waiting);
    w->original = e->ids.original;
    w->topic = e->topic;
    w->offset = offset;
    w->line = e->line;
    chain = chain_of(x, &w->original);
    w->next = *chain;
    *chain = w;
    x->waiting_count++;
}

static bool amend_all(load_t *x)
{
    bool ok;

    for (size_t i = 0; i < x->amend_count; i++) x->amends[i].value.ptr = x->amended.ptr + x->amend_at[i];
    ok = not_the_line(x, log_amend_now(x->log, x->amends, x->amend_count, x->why));
    x->amend_count = 0;
    x->amended.start = x->amended.end = 0;
    return ok;
}

static bool take_value(void *user, const log_event_t *e)
{
    buf_put(user, e->value.ptr, e->value.len);
    return false;
}

static bool amend(load_t *x, const waiting_t *w, const rlid_t *original)
{
    size_t at = x->amended.end;
    log_amend_t *r = &x->amends[x->amend_count];

    if (!not_the_line(x, log_read_one_now(x->log, &w->topic->project, &w->topic->id, w->offset, take_value,
                                    &x->amended, x->why)))
        return false;
    memset(r, 0, sizeof *r);
    r->project = w->topic->project;
    r->topic = w->topic->id;
    r->offset = w->offset;
    r->value = slice_of(x->amended.ptr + at, x->amended.end - at);
    point_at(r->value, original);
    x->amend_at[x->amend_count++] = at;
    return (x->amend_count < BATCH_EVENTS && x->amended.end < BATCH_BYTES) || amend_all(x);
}

/* An event has been stored: those that have waited for it. */
static bool settle(load_t *x, const entry_t *e, uint64_t offset)
{
    waiting_t **at = chain_of(x, &e->ids.id), *w;
    bool ok = true, asked = false;
    rlid_t id;

    while (ok && (w = *at) != NULL) {
        if (w->topic != e->topic || memcmp(&w->original, &e->ids.id, sizeof w->original) != 0) {
            at = &w->next;
            continue;
        }
        ok = (asked || id_at(x, e->topic, offset, &id)) && amend(x, w, &id);
        asked = true;
        *at = w->next;
        free(w);
        x->waiting_count--;
    }
    return ok;
}

/* ---- the batch */

static bool append(load_t *x)
{
    log_append_t r;

    memset(&r, 0, sizeof r);
    r.project = x->entries[0].topic->project;
    r.events = x->events;
    r.count = x->count;
    for (size_t i = 0; i < x->count; i++) {
        const entry_t *e = &x->entries[i];
        x->events[i].topic = e->topic->id;
        x->events[i].value = slice_of(x->arena.ptr + x->arena.start + e->at, e->len);
    }
    return log_append_now(x->log, &r, x->why);
}

static bool note_stored(load_t *x, size_t stored)
{
    bool ok = true;

    for (size_t i = 0; ok && i < stored; i++) {
        const entry_t *e = &x->entries[i];
        const ulid_t *project = &e->topic->project;
        if (e->ids.known)
            ok = not_the_line(x, moved_put(x->moved, project, &e->ids.id, x->events[i].offset, x->why));
        if (e->waits) wait_for_original(x, e, x->events[i].offset);
    }
    for (size_t i = 0; ok && x->waiting_count && i < stored; i++)
        if (x->entries[i].ids.known) ok = settle(x, &x->entries[i], x->events[i].offset);
    return ok && amend_all(x);
}

/* What is in the arena behind the batch stays there. */
static bool flush(load_t *x)
{
    size_t stored = 0, bytes = 0;
    bool ok;

    if (x->count == 0) return true;
    ok = not_the_line(x, append(x));
    while (stored < x->count && x->events[stored].offset) stored++;
    if (note_stored(x, stored)) x->loaded->events += stored;
    else ok = false;
    for (size_t i = 0; i < x->count; i++) bytes += x->entries[i].len;
    buf_take(&x->arena, bytes);
    x->count = 0;
    log_line("--load: %" PRIu64 " events are loaded", x->loaded->events);
    progress_step(&x->progress, x->loaded->events);
    return ok;
}

static bool find_moved(load_t *x, const entry_t *e, uint64_t *offset)
{
    return not_the_line(x, moved_find(x->moved, &e->topic->project, &e->ids.original, offset, x->why));
}

/* The event lies in the arena, and is not in the batch yet. */
static bool find_original(load_t *x, entry_t *e)
{
    uint64_t offset;
    rlid_t id;

    if (!find_moved(x, e, &offset)) return false;
    if (!offset && !log_can_amend(x->log)) {
        if (!flush(x)) return false;
        e->at = 0;
        if (!find_moved(x, e, &offset)) return false;
        if (!offset)
            return fail(x->why, "duplicate_of: no line before has that event, and this store cannot change "
                                "stored events; set the topic's policy to NONE before the dump");
    }
    e->waits = offset == 0;
    if (e->waits) return true;
    if (!id_at(x, e->topic, offset, &id)) return false;
    point_at(slice_of(x->arena.ptr + x->arena.start + e->at, e->len), &id);
    return true;
}

static bool make_room(load_t *x, const topic_t *t)
{
    bool fits = x->count < BATCH_EVENTS && buf_len(&x->arena) < BATCH_BYTES &&
                (x->count == 0 || ulid_eq(&x->entries[0].topic->project, &t->project));
    return fits || flush(x);
}

static bool load_event(load_t *x, json_t *o)
{
    entry_t e;
    ulid_t id;

    memset(&e, 0, sizeof e);
    if (!ulid_from_json(o, "topic_id", &id, x->why)) return false;
    e.topic = route_of(x, &id);
    if (!e.topic)
        return fail(x->why,
                    "topic_id: no line before has the topic of this id; put its line before its events");
    if (!make_room(x, e.topic)) return false;
    e.at = buf_len(&x->arena);
    e.line = x->line;
    if (!event_from_json(o, &e.topic->id, &e.ids, &x->arena, x->why)) {
        x->arena.end = x->arena.start + e.at;
        return false;
    }
    e.len = buf_len(&x->arena) - e.at;
    if (e.len > VALUE_MOST)
        return fail(x->why, "data: with all its fields the event has %zu bytes; the most is %u", e.len,
                    VALUE_MOST);
    if (e.ids.duplicate && !find_original(x, &e)) return false;
    x->entries[x->count++] = e;
    return true;
}

/* ---- the whole */

static bool load_object(load_t *x, json_t *o)
{
    const char *kind = json_string_value(json_object_get(o, "kind"));

    if (!json_is_object(o)) return fail(x->why, "it is no JSON object");
    if (kind && strcmp(kind, DUMP_EVENT) == 0) return load_event(x, o);
    if (kind && strcmp(kind, DUMP_TOPIC) == 0) return load_topic(x, o);
    if (kind && strcmp(kind, DUMP_KEY) == 0) return load_key(x, o);
    return fail(x->why, "kind: give \"" DUMP_EVENT "\", \"" DUMP_TOPIC "\" or \"" DUMP_KEY "\"");
}

static bool is_blank(ensign_slice_t line)
{
    size_t i = 0;

    while (i < line.len && (line.ptr[i] == ' ' || line.ptr[i] == '\t' || line.ptr[i] == '\r')) i++;
    return i == line.len;
}

static bool load_line(load_t *x, ensign_slice_t line)
{
    json_error_t error;
    json_t *o;
    bool ok;

    if (is_blank(line)) return true;
    o = json_loadb((const char *)line.ptr, line.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!o) return fail(x->why, "column %d: %s; mend the JSON", error.column, error.text);
    ok = load_object(x, o);
    json_decref(o);
    return ok;
}

/* The first of those whose original has never come. */
static bool check_waiting(load_t *x)
{
    uint64_t line = UINT64_MAX;

    if (x->waiting_count == 0) return true;
    for (size_t i = 0; i < CHAINS; i++)
        for (const waiting_t *w = x->waiting[i]; w; w = w->next)
            if (w->line < line) line = w->line;
    x->line = line;
    return fail(x->why, "duplicate_of: no line has that event; this is the first of %" PRIu64 " such lines",
                x->waiting_count);
}

static void load_close(load_t *x)
{
    for (size_t i = 0; x->waiting && i < CHAINS; i++)
        while (x->waiting[i]) {
            waiting_t *w = x->waiting[i];
            x->waiting[i] = w->next;
            free(w);
        }
    free(x->waiting);
    free(x->routes);
    buf_free(&x->in);
    buf_free(&x->arena);
    buf_free(&x->amended);
    moved_close(x->moved);
    topics_close(&x->topics);
    if (x->fd != STDIN_FILENO) close(x->fd);
    free(x);
}

/* What came before a line that is wrong is stored all the same. */
static bool load_all(load_t *x)
{
    ensign_slice_t line;
    why_t later, *first = x->why;

    while (next_line(x, &line))
        if (!load_line(x, line)) break;
    if (!first->text[0]) return flush(x) && check_waiting(x);
    x->why = &later;
    (void)flush(x);
    return false;
}

int load_open(const char *file, why_t *why)
{
    int fd = strcmp(file, "-") == 0 ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);

    if (fd < 0) fail(why, "--load %s: %s; name a file that can be read", file, strerror(errno));
    return fd;
}

bool load_lines(log_t *l, int fd, const char *file, loaded_t *out, why_t *why)
{
    load_t *x = x_alloc(sizeof *x);
    why_t inner = { "" };
    char where[32] = "";
    bool ok;

    memset(out, 0, sizeof *out);
    x->log = l;
    x->fd = fd;
    x->loaded = out;
    x->why = &inner;
    x->moved = moved_open();
    topics_open(&x->topics, l);
    progress_begin(&x->progress, "events loaded", false);
    ok = load_all(x);
    progress_end(&x->progress);
    if (!x->line_is_right) snprintf(where, sizeof where, "line %" PRIu64 ": ", x->line);
    load_close(x);
    return ok || fail(why, "--load %.100s: %s%.200s; %" PRIu64 " events were loaded, and stay", file, where,
                      inner.text, out->events);
}
