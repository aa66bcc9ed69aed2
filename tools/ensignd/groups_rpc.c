/* groups_rpc.c - ensignd's own service Groups: what groups there are, and where they stand; see service.h
 *
 * Owns   a task for each call, from its request to its answer. It has one list of groups to report on, and
 *        for the group that it is at one of topics.
 * Moves  List and Get report at once. Remove and Reset lock the group, wait until it has left the memory, put
 *        the records, unlock; Reset then reports. A report counts the events that are not done: of a place in
 *        memory from where that has read to, else from its floor.
 * Fails  a request that the log fails ends the call with UNAVAILABLE. What was put by then stays. */
#include "group.h"
#include "reply.h"
#include "wrapper.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_EVENTS 4096
#define PAGE_BYTES (1u << 20)
#define SEEK_EVENTS 64
#define TIME_MOST_SECONDS 281474976709 /* an id has 48 bits for its ms */

#define TEXT_NOT_FOUND "there is no such group"
#define TEXT_LOG_FAILED "the log cannot be read or written; try again"

/* The place in one topic. */
typedef struct row_t {
    char          *name;
    ulid_t         topic;
    place_record_t record;
    uint64_t       floor, lag, pending; /* lag: what is known before the log is read */
    uint64_t       reached, target;     /* counted up to here; of Reset: the new floor */
    bool           named, begun, counted;
} row_t;

typedef struct listed_t { uint8_t id[GROUP_ID]; char *name; } listed_t;

struct group_task_t {
    service_t    *service;
    call_t       *call;                 /* NULL: nobody waits any more */
    ulid_t        project;
    listed_t     *groups;               /* to report on */
    size_t        group_count, group_at;
    row_t        *rows;                 /* of the group that it is at */
    size_t        row_count, row_at;
    group_lock_t  lock;
    bool          locked, waiting;      /* waiting: until the group has left the memory */
    void        (*then)(group_task_t *k);       /* behind that */
    msg_reset_group_request_t reset;
    buf_t         request;              /* what `reset` points into */
    log_read_t    read;
    log_put_t    *puts;
    buf_t        *keys, *values;        /* of the puts */
    size_t        put_count, answers;
    bool          failed;
    group_task_t *next, **back;
};

/* ---- a task */

/* c: NULL where nobody waits for it. */
static group_task_t *task_new(service_t *s, call_t *c)
{
    group_task_t *k = x_alloc(sizeof *k);

    k->service = s;
    k->call = c;
    if (c) k->project = c->claims.project;
    if (c) c->state = k;
    k->next = s->group_tasks;
    k->back = &s->group_tasks;
    if (k->next) k->next->back = &k->next;
    s->group_tasks = k;
    return k;
}

static void free_row(row_t *row)
{
    free(row->name);
    place_record_free(&row->record);
}

static void free_rows(group_task_t *k)
{
    for (size_t i = 0; i < k->row_count; i++) free_row(&k->rows[i]);
    free(k->rows);
    k->rows = NULL;
    k->row_count = k->row_at = 0;
}

static void free_puts(group_task_t *k)
{
    for (size_t i = 0; i < k->put_count; i++) {
        buf_free(&k->keys[i]);
        buf_free(&k->values[i]);
    }
    free(k->puts);
    free(k->keys);
    free(k->values);
    k->puts = NULL;
    k->keys = k->values = NULL;
    k->put_count = k->answers = 0;
}

static void task_free(group_task_t *k)
{
    if (k->call) k->call->state = NULL;
    if (k->locked) groups_unlock(&k->lock);
    *k->back = k->next;
    if (k->next) k->next->back = k->back;
    free_rows(k);
    free_puts(k);
    for (size_t i = 0; i < k->group_count; i++) free(k->groups[i].name);
    free(k->groups);
    buf_free(&k->request);
    free(k);
}

static void task_end(group_task_t *k, int status, const char *text)
{
    if (k->call) call_end(k->call, status, text);
    task_free(k);
}

/* ---- which groups, which topics */

typedef struct search_t { group_task_t *task; ensign_slice_t name; bool all; } search_t;

static void list_group(group_task_t *k, const uint8_t id[GROUP_ID], ensign_slice_t name)
{
    k->groups = x_realloc(k->groups, (k->group_count + 1) * sizeof *k->groups);
    memcpy(k->groups[k->group_count].id, id, GROUP_ID);
    k->groups[k->group_count++].name = slice_dup(name);
}

static bool find_groups(void *user, ensign_slice_t key, ensign_slice_t value)
{
    search_t *s = user;
    ulid_t project;
    uint8_t id[GROUP_ID];
    group_record_t r;

    if (group_key_read(key, &project, id) && ulid_eq(&project, &s->task->project) &&
        group_record_read(&r, value) && (s->all || slice_eq(r.name, s->name)))
        list_group(s->task, id, r.name);
    return true;
}

static int by_name(const void *a, const void *b)
{
    const listed_t *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : memcmp(x->id, y->id, GROUP_ID);
}

static bool read_group(const group_task_t *k, const uint8_t id[GROUP_ID], group_record_t *r)
{
    buf_t key = { NULL, 0, 0, 0 };
    ensign_slice_t value;
    uint64_t revision;
    bool found;

    group_key_put(&key, &k->project, id);
    found = log_get(k->service->log, buf_bytes(&key), &value, &revision) && group_record_read(r, value);
    buf_free(&key);
    return found;
}

/* By its id, which a name has, too; else one that was made by another id has the name. */
static bool choose_group(group_task_t *k, const msg_group_request_t *wanted)
{
    search_t s = { k, wanted->name, false };
    uint8_t id[GROUP_ID];
    group_record_t r;

    if (wanted->id.len == 0 && wanted->name.len == 0) {
        task_end(k, GRPC_INVALID_ARGUMENT, "name a group, or give its id");
        return false;
    }
    group_id_of(wanted->id, wanted->name, id);
    if (read_group(k, id, &r)) list_group(k, id, r.name);
    else if (wanted->id.len == 0) log_each(k->service->log, "group/", find_groups, &s);
    if (k->group_count == 1) return true;
    if (k->group_count == 0) task_end(k, GRPC_NOT_FOUND, TEXT_NOT_FOUND);
    else task_end(k, GRPC_FAILED_PRECONDITION, "several groups have this name; give the id of one");
    return false;
}

static row_t *row_of(group_task_t *k, const topic_t *t)
{
    row_t *r;

    for (size_t i = 0; i < k->row_count; i++)
        if (ulid_eq(&k->rows[i].topic, &t->id)) return &k->rows[i];
    k->rows = x_realloc(k->rows, (k->row_count + 1) * sizeof *k->rows);
    r = &k->rows[k->row_count++];
    memset(r, 0, sizeof *r);
    r->name = x_strdup(t->name);
    r->topic = t->id;
    return r;
}

static bool find_places(void *user, ensign_slice_t key, ensign_slice_t value)
{
    group_task_t *k = user;
    place_key_t place;
    const topic_t *t;
    row_t *r;

    if (!place_key_read(key, &place)) return true;
    t = topics_by_id(k->service->topics, &place.topic);
    if (!t) return true;
    r = row_of(k, t);
    place_record_free(&r->record);
    if (!place_record_read(&r->record, value)) memset(&r->record, 0, sizeof r->record);
    return true;
}

static int by_topic_name(const void *a, const void *b)
{
    return strcmp(((const row_t *)a)->name, ((const row_t *)b)->name);
}

static void find_rows(group_task_t *k)
{
    place_key_t key;
    buf_t b = { NULL, 0, 0, 0 };

    free_rows(k);
    memset(&key, 0, sizeof key);
    key.project = k->project;
    memcpy(key.group, k->groups[k->group_at].id, GROUP_ID);
    place_key_put(&b, &key);
    log_each_in(k->service->log, slice_of(b.ptr, buf_len(&b) - sizeof key.topic), find_places, k);
    buf_free(&b);
    if (k->row_count) qsort(k->rows, k->row_count, sizeof *k->rows, by_topic_name);
}

/* ---- a report */

static void report(group_task_t *k);

static bool is_done(const place_record_t *r, uint64_t offset)
{
    for (size_t i = 0; i < r->range_count; i++)
        if (r->ranges[i].first <= offset && offset <= r->ranges[i].last) return true;
    return false;
}

static void on_count(log_request_t *base)
{
    group_task_t *k = base->user;
    row_t *row = &k->rows[k->row_at];

    if (!k->call) {
        task_free(k);
        return;
    }
    if (base->result != LOG_OK) {
        task_end(k, GRPC_UNAVAILABLE, TEXT_LOG_FAILED);
        return;
    }
    for (size_t i = 0; i < k->read.count; i++) row->lag += !is_done(&row->record, k->read.events[i].offset);
    row->reached = k->read.reached;
    if (k->read.end) k->row_at++;
    report(k);
}

/* by_id: from the event that read.id names on. */
static void read_topic(group_task_t *k, row_t *row, bool by_id, size_t most, void (*done)(log_request_t *r))
{
    log_read_t *r = &k->read;

    r->base.done = done;
    r->base.user = k;
    r->project = k->project;
    r->topics = &row->topic;
    r->topic_count = 1;
    r->by_id = by_id;
    r->after = row->reached;
    r->until = UINT64_MAX;
    r->most_events = most;
    r->most_bytes = PAGE_BYTES;
    log_read(k->service->log, r);
}

/* What a place in memory knows is newer than its record. */
static void begin_row(const group_task_t *k, row_t *row)
{
    const group_t *g = groups_find(k->service->groups, &k->project, k->groups[k->group_at].id);
    const place_t *p = g ? group_place(g, &row->topic) : NULL;

    row->floor = row->reached = p ? p->floor : row->record.floor;
    if (!p) {
        for (size_t i = 0; i < row->record.mark_count; i++) row->pending += row->record.marks[i].failures > 0;
        return;
    }
    row->reached = p->read_to;
    row->counted = p->live && group_has_heard(g);
    row->lag = p->end - p->begin - p->counts[PLACE_DONE] - p->counts[PLACE_CLAIMED];
    row->pending = place_pending(p);
    row->record.redeliveries = p->redeliveries;
    row->record.dead_letters = p->dead_letters;
}

static void put_row(buf_t *out, const row_t *row)
{
    msg_group_topic_t t;
    buf_t b = { NULL, 0, 0, 0 };

    memset(&t, 0, sizeof t);
    t.name = slice_text(row->name);
    t.topic_id = slice_of(row->topic.b, sizeof row->topic.b);
    t.offset = row->floor;
    t.lag = row->lag;
    t.pending = row->pending;
    t.redeliveries = row->record.redeliveries;
    t.dead_letters = row->record.dead_letters;
    if (msg_put(&b, MSG_GROUP_TOPIC, &t)) msg_put_field(out, MSG_GROUP_TOPICS_TAG, buf_bytes(&b));
    buf_free(&b);
}

/* One that was removed meanwhile is left out. */
static void send_group(group_task_t *k)
{
    const listed_t *l = &k->groups[k->group_at];
    const group_t *g = groups_find(k->service->groups, &k->project, l->id);
    group_record_t r;
    msg_group_t m;
    buf_t topics = { NULL, 0, 0, 0 }, out = { NULL, 0, 0, 0 };

    if (!read_group(k, l->id, &r)) return;
    memset(&m, 0, sizeof m);
    m.name = r.name;
    m.id = slice_of(l->id, GROUP_ID);
    m.delivery = (int32_t)r.delivery;
    m.has_ack_wait = true;
    if (r.ack_wait == 0) r.ack_wait = groups_ack_wait(k->service->groups);
    m.ack_wait.seconds = r.ack_wait / 1000;
    m.ack_wait.nanos = (int32_t)(r.ack_wait % 1000 * 1000000);
    m.members = g ? (uint32_t)group_members(g) : 0;
    for (size_t i = 0; i < k->row_count; i++) put_row(&topics, &k->rows[i]);
    m.topics = buf_bytes(&topics);
    if (msg_put(&out, MSG_GROUP, &m)) call_send(k->call, buf_bytes(&out));
    buf_free(&topics);
    buf_free(&out);
}

/* Goes on with the topic that it is at, or with the next group. */
static void report(group_task_t *k)
{
    while (k->group_at < k->group_count) {
        if (!k->rows) find_rows(k);
        if (k->row_at < k->row_count) {
            row_t *row = &k->rows[k->row_at];
            if (!row->begun) begin_row(k, row);
            row->begun = true;
            if (!row->counted) {
                read_topic(k, row, false, PAGE_EVENTS, on_count);
                return;
            }
            k->row_at++;
            continue;
        }
        send_group(k);
        free_rows(k);
        k->group_at++;
    }
    task_end(k, GRPC_OK, NULL);
}

/* ---- changes */

static void on_put(log_request_t *base)
{
    group_task_t *k = base->user;

    k->failed = k->failed || base->result != LOG_OK;
    if (++k->answers < k->put_count) return;
    free_puts(k);
    if (k->failed) task_end(k, GRPC_UNAVAILABLE, TEXT_LOG_FAILED);
    else k->then(k);
}

static void add_put(group_task_t *k)
{
    k->keys = x_realloc(k->keys, (k->put_count + 1) * sizeof *k->keys);
    k->values = x_realloc(k->values, (k->put_count + 1) * sizeof *k->values);
    memset(&k->keys[k->put_count], 0, sizeof *k->keys);
    memset(&k->values[k->put_count], 0, sizeof *k->values);
    k->put_count++;
}

/* All at once; `then` comes when the last one is stored, at once where there is none. */
static void put_all(group_task_t *k, void (*then)(group_task_t *k))
{
    size_t count = k->put_count;

    k->then = then;
    if (count == 0) {
        then(k);
        return;
    }
    k->puts = x_alloc(count * sizeof *k->puts);
    for (size_t i = 0; i < count; i++) {
        k->puts[i].base.done = on_put;
        k->puts[i].base.user = k;
        k->puts[i].key = buf_bytes(&k->keys[i]);
        k->puts[i].value = buf_bytes(&k->values[i]);
        k->puts[i].revision = LOG_ANY_REVISION;
        log_put(k->service->log, &k->puts[i]);
    }
}

static void lock_group(group_task_t *k, void (*then)(group_task_t *k))
{
    const uint8_t *id = k->groups[0].id;
    const group_t *g = groups_find(k->service->groups, &k->project, id);

    if (g && group_members(g)) {
        task_end(k, GRPC_FAILED_PRECONDITION, "the group has members; end their subscriptions first");
        return;
    }
    if (groups_is_locked(k->service->groups, &k->project, id)) {
        task_end(k, GRPC_UNAVAILABLE, "the group is being changed; try again");
        return;
    }
    k->lock.project = k->project;
    memcpy(k->lock.id, id, GROUP_ID);
    groups_lock(k->service->groups, &k->lock);
    k->locked = k->waiting = true;
    k->then = then;
}

void group_tasks_run(service_t *s)
{
    for (group_task_t *k = s->group_tasks, *next; k; k = next) {
        next = k->next;
        if (!k->waiting || groups_find(s->groups, &k->project, k->lock.id)) continue;
        k->waiting = false;
        k->then(k);
    }
}

/* ---- Remove: first the places; so a group that is half removed is still there to be removed */

static bool remove_place(void *user, ensign_slice_t key, ensign_slice_t value)
{
    group_task_t *k = user;
    place_key_t place;
    (void)value;

    if (!place_key_read(key, &place) || !ulid_eq(&place.project, &k->project) ||
        memcmp(place.group, k->groups[0].id, GROUP_ID) != 0)
        return true;
    add_put(k);
    buf_put(&k->keys[k->put_count - 1], key.ptr, key.len);
    return true;
}

static void removed(group_task_t *k)
{
    static const msg_remove_group_reply_t nothing;

    if (k->call) reply(k->call, MSG_REMOVE_GROUP_REPLY, &nothing);
    task_free(k);
}

static void remove_group(group_task_t *k)
{
    add_put(k);
    group_key_put(&k->keys[0], &k->project, k->groups[0].id);
    put_all(k, removed);
}

static void remove_places(group_task_t *k)
{
    log_each(k->service->log, "place/", remove_place, k);
    put_all(k, remove_group);
}

/* ---- topics that are gone */

static bool sweep_place(void *user, ensign_slice_t key, ensign_slice_t value)
{
    group_task_t *k = user;
    place_key_t place;
    const group_t *g;
    (void)value;

    if (!place_key_read(key, &place) || topics_by_id(k->service->topics, &place.topic)) return true;
    g = groups_find(k->service->groups, &place.project, place.group);
    if (g && group_place(g, &place.topic)) return true;        /* it removes its record itself */
    add_put(k);
    buf_put(&k->keys[k->put_count - 1], key.ptr, key.len);
    return true;
}

/* The records of places in topics that are gone, and the mark of one that had dead letters. */
void groups_forget_topic(service_t *s, const ulid_t *topic)
{
    group_task_t *k;

    if (!s->groups) return;
    groups_topic_gone(s->groups, topic);
    k = task_new(s, NULL);
    log_each(s->log, "place/", sweep_place, k);
    add_put(k);
    topic_dead_key(topic, &k->keys[k->put_count - 1]);
    put_all(k, task_free);
}

/* ---- Reset */

static void seek(group_task_t *k);

static void unlock_and_report(group_task_t *k)
{
    groups_unlock(&k->lock);
    k->locked = false;
    if (k->call) report(k);
    else task_free(k);
}

static void put_places(group_task_t *k)
{
    for (size_t i = 0; i < k->row_count; i++) {
        const row_t *row = &k->rows[i];
        place_record_t r;
        place_key_t key;
        memset(&r, 0, sizeof r);
        r.epoch = log_epoch(k->service->log, &k->project);
        r.floor = row->target;
        r.redeliveries = row->record.redeliveries;
        r.dead_letters = row->record.dead_letters;
        key.project = k->project;
        memcpy(key.group, k->groups[0].id, GROUP_ID);
        key.topic = row->topic;
        add_put(k);
        place_key_put(&k->keys[i], &key);
        place_record_put(&k->values[i], &r);
    }
    free_rows(k);
    put_all(k, unlock_and_report);
}

static bool is_before(const log_event_t *e, const msg_timestamp_t *t)
{
    stamp_t at = wrapper_committed(e);
    return at.seconds < t->seconds || (at.seconds == t->seconds && at.nanos < t->nanos);
}

static void on_seek(log_request_t *base)
{
    group_task_t *k = base->user;
    row_t *row = &k->rows[k->row_at];

    if (base->result != LOG_OK) {
        task_end(k, GRPC_UNAVAILABLE, TEXT_LOG_FAILED);
        return;
    }
    row->reached = k->read.reached;
    for (size_t i = 0; i < k->read.count; i++) {
        if (is_before(&k->read.events[i], &k->reset.time)) continue;
        row->target = k->read.events[i].offset - 1;
        k->row_at++;
        seek(k);
        return;
    }
    if (k->read.end) row->target = log_last(k->service->log, &k->project);
    if (k->read.end) k->row_at++;
    seek(k);
}

/* An id begins with the ms in which its event was stored here, so none that was committed later stands before
   it. */
static void seek_time(group_task_t *k, row_t *row)
{
    const msg_timestamp_t *t = &k->reset.time;

    k->read.id = rlid_make(t->seconds * 1000 + t->nanos / 1000000, 0);
    read_topic(k, row, row->reached == 0, SEEK_EVENTS, on_seek);
}

/* The new floor of each topic; then they are put. */
static void seek(group_task_t *k)
{
    uint64_t last = log_last(k->service->log, &k->project);
    uint64_t before = k->reset.offset ? k->reset.offset - 1 : 0;

    for (; k->row_at < k->row_count; k->row_at++) {
        row_t *row = &k->rows[k->row_at];
        switch (k->reset.to) {
        case MSG_RESET_GROUP_REQUEST_POSITION_BEGINNING: row->target = 0; break;
        case MSG_RESET_GROUP_REQUEST_POSITION_LIVE: row->target = last; break;
        case MSG_RESET_GROUP_REQUEST_POSITION_OFFSET: row->target = before < last ? before : last; break;
        default:
            seek_time(k, row);
            return;
        }
    }
    put_places(k);
}

/* Of the topics only those that are named; of a topic that the group has no place in yet, too. False: the
   task has ended. */
static bool choose_topics(group_task_t *k)
{
    size_t at = 0, kept = 0;
    ensign_slice_t text;
    char words[600];

    find_rows(k);
    if (k->reset.topics.len == 0) return true;
    while (msg_next(k->reset.topics, MSG_RESET_GROUP_REQUEST_TOPICS_TAG, &at, &text)) {
        const topic_t *t = topics_lookup(k->service->topics, &k->project, text);
        if (!t) {
            snprintf(words, sizeof words, "the project has no topic %.*s",
                     text.len < 500 ? (int)text.len : 500, (const char *)text.ptr);
            task_end(k, GRPC_NOT_FOUND, words);
            return false;
        }
        row_of(k, t)->named = true;
    }
    for (size_t i = 0; i < k->row_count; i++) {
        if (k->rows[i].named) k->rows[kept++] = k->rows[i];
        else free_row(&k->rows[i]);
    }
    k->row_count = kept;
    return true;
}

static void reset_group(group_task_t *k)
{
    if (choose_topics(k)) seek(k);
}

static bool is_time(const msg_timestamp_t *t)
{
    return t->seconds >= 0 && t->seconds <= TIME_MOST_SECONDS && t->nanos >= 0 && t->nanos <= 999999999;
}

static bool reset_is_good(group_task_t *k)
{
    const msg_reset_group_request_t *r = &k->reset;
    const char *fault = NULL;
    int32_t first = MSG_RESET_GROUP_REQUEST_POSITION_BEGINNING, last = MSG_RESET_GROUP_REQUEST_POSITION_TIME;

    if (!r->has_group) fault = "name a group, or give its id";
    else if (r->to < first || r->to > last)
        fault = "say where the group shall begin: BEGINNING, LIVE, OFFSET or TIME";
    else if (r->to == last && (!r->has_time || !is_time(&r->time)))
        fault = "give a time from 1970 on";
    if (fault) task_end(k, GRPC_INVALID_ARGUMENT, fault);
    return !fault;
}

/* ---- the RPCs */

/* NULL: the call has ended, or its request was there before. */
static group_task_t *task_of(service_t *s, call_t *c)
{
    if (c->state) return NULL;
    if (c->claims.has_project) return task_new(s, c);
    call_end(c, GRPC_PERMISSION_DENIED, TEXT_PERMISSION);
    return NULL;
}

void rpc_groups_list(service_t *s, call_t *c, ensign_slice_t message)
{
    msg_list_groups_request_t request;
    group_task_t *k;
    search_t all = { NULL, { NULL, 0 }, true };

    if (c->state || !decode(c, MSG_LIST_GROUPS_REQUEST, &request, message)) return;
    if (!(k = task_of(s, c))) return;
    all.task = k;
    log_each(s->log, "group/", find_groups, &all);
    if (k->group_count) qsort(k->groups, k->group_count, sizeof *k->groups, by_name);
    report(k);
}

void rpc_groups_get(service_t *s, call_t *c, ensign_slice_t message)
{
    msg_group_request_t request;
    group_task_t *k;

    if (c->state || !decode(c, MSG_GROUP_REQUEST, &request, message)) return;
    if ((k = task_of(s, c)) != NULL && choose_group(k, &request)) report(k);
}

void rpc_groups_remove(service_t *s, call_t *c, ensign_slice_t message)
{
    msg_group_request_t request;
    group_task_t *k;

    if (c->state || !decode(c, MSG_GROUP_REQUEST, &request, message)) return;
    if ((k = task_of(s, c)) != NULL && choose_group(k, &request)) lock_group(k, remove_places);
}

void rpc_groups_reset(service_t *s, call_t *c, ensign_slice_t message)
{
    msg_reset_group_request_t request;
    group_task_t *k;

    if (c->state || !decode(c, MSG_RESET_GROUP_REQUEST, &request, message)) return;
    if (!(k = task_of(s, c))) return;
    buf_put(&k->request, message.ptr, message.len);     /* it is needed longer than the message is there */
    msg_decode(MSG_RESET_GROUP_REQUEST, &k->reset, buf_bytes(&k->request));
    if (reset_is_good(k) && choose_group(k, &k->reset.group)) lock_group(k, reset_group);
}

/* What it changes goes on, as it may have happened already. */
void group_task_closed(service_t *s, call_t *c)
{
    group_task_t *k = c->state;
    (void)s;

    if (k) k->call = NULL;
    c->state = NULL;
}

void group_tasks_free(service_t *s)
{
    while (s->group_tasks) task_free(s->group_tasks);
}
