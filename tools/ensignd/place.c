/* place.c - see place.h
 *
 * A record is a version byte and varints: epoch, floor, redeliveries, dead letters; the count of ranges, and
 * of each its distance from the end of the one before and its length; the count of marks, and of each its
 * distance from the one before, twice its failures, plus one where it is dead; then `since` and `code`. */
#include "place.h"
#include "dedup.h"
#include "messages.h"
#include "restore.h"
#include "wrapper.h"
#include <stdlib.h>
#include <string.h>

#define RECORD_VERSION 1
#define RING_LEAST 16u

/* ---- the record */

static void put_number(buf_t *out, uint64_t v)
{
    uint8_t *p = buf_room(out, 10);
    out->end += (size_t)(msg_put_varint(p, v) - p);
}

void place_key_put(buf_t *out, const place_key_t *key)
{
    buf_put(out, "place/", 6);
    buf_put(out, key->project.b, sizeof key->project.b);
    buf_put(out, key->group, sizeof key->group);
    buf_put(out, key->topic.b, sizeof key->topic.b);
}

bool place_key_read(ensign_slice_t bytes, place_key_t *key)
{
    size_t n = 6;

    if (bytes.len != n + sizeof *key || memcmp(bytes.ptr, "place/", n) != 0) return false;
    memcpy(key->project.b, bytes.ptr + n, 16);
    memcpy(key->group, bytes.ptr + n + 16, 16);
    memcpy(key->topic.b, bytes.ptr + n + 32, 16);
    return true;
}

void place_record_put(buf_t *out, const place_record_t *r)
{
    static const uint8_t version = RECORD_VERSION;
    uint64_t from = r->floor;

    buf_put(out, &version, 1);
    put_number(out, r->epoch);
    put_number(out, r->floor);
    put_number(out, r->redeliveries);
    put_number(out, r->dead_letters);
    put_number(out, r->range_count);
    for (size_t i = 0; i < r->range_count; i++) {
        put_number(out, r->ranges[i].first - from);
        put_number(out, r->ranges[i].last - r->ranges[i].first);
        from = r->ranges[i].last;
    }
    from = r->floor;
    put_number(out, r->mark_count);
    for (size_t i = 0; i < r->mark_count; i++) {
        const place_mark_t *m = &r->marks[i];
        put_number(out, m->offset - from);
        put_number(out, 2 * m->failures + m->dead);
        if (m->dead) put_number(out, m->since);
        if (m->dead) put_number(out, (uint32_t)m->code);
        from = m->offset;
    }
}

static bool take_number(ensign_slice_t *s, uint64_t *v)
{
    *v = 0;
    for (unsigned shift = 0; s->len && shift < 64; shift += 7) {
        uint8_t b = *s->ptr++;
        s->len--;
        *v |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) return true;
    }
    return false;
}

/* Each one takes two bytes at least: a count that cannot be true asks for no memory. */
static bool take_count(ensign_slice_t *s, size_t *count)
{
    uint64_t n;

    if (!take_number(s, &n) || n > s->len / 2) return false;
    *count = (size_t)n;
    return true;
}

static bool take_ranges(ensign_slice_t *s, place_record_t *r)
{
    uint64_t from = r->floor, step, length;

    if (!take_count(s, &r->range_count)) return false;
    r->ranges = x_alloc(r->range_count * sizeof *r->ranges);
    for (size_t i = 0; i < r->range_count; i++) {
        if (!take_number(s, &step) || !take_number(s, &length) || step > UINT64_MAX - from ||
            length > UINT64_MAX - from - step)
            return false;
        r->ranges[i].first = from + step;
        from = r->ranges[i].last = from + step + length;
    }
    return true;
}

static bool take_marks(ensign_slice_t *s, place_record_t *r)
{
    uint64_t from = r->floor, step, failures, code;

    if (!take_count(s, &r->mark_count)) return false;
    r->marks = x_alloc(r->mark_count * sizeof *r->marks);
    for (size_t i = 0; i < r->mark_count; i++) {
        place_mark_t *m = &r->marks[i];
        if (!take_number(s, &step) || !take_number(s, &failures) || step > UINT64_MAX - from) return false;
        from = m->offset = from + step;
        m->failures = failures / 2;
        m->dead = failures % 2 != 0;
        code = 0;
        if (m->dead && (!take_number(s, &m->since) || !take_number(s, &code))) return false;
        if (code > INT32_MAX) return false;
        m->code = (int32_t)code;
    }
    return true;
}

bool place_record_read(place_record_t *r, ensign_slice_t value)
{
    memset(r, 0, sizeof *r);
    if (value.len == 0 || *value.ptr != RECORD_VERSION) return false;
    value = slice_of(value.ptr + 1, value.len - 1);
    if (take_number(&value, &r->epoch) && take_number(&value, &r->floor) &&
        take_number(&value, &r->redeliveries) && take_number(&value, &r->dead_letters) &&
        take_ranges(&value, r) && take_marks(&value, r) && value.len == 0)
        return true;
    place_record_free(r);
    return false;
}

void place_record_free(place_record_t *r)
{
    free(r->ranges);
    free(r->marks);
    memset(r, 0, sizeof *r);
}

/* ---- the window */

static place_event_t *nth(const place_t *p, uint64_t index)
{
    return p->at[index & (p->cap - 1)];
}

static uint64_t count_of(const place_t *p)
{
    return p->end - p->begin;
}

static void make_room(place_t *p)
{
    size_t cap = p->cap ? 2 * p->cap : RING_LEAST;
    place_event_t **at;

    if (count_of(p) < p->cap) return;
    at = x_alloc(cap * sizeof *at);
    for (uint64_t i = p->begin; i < p->end; i++) at[i & (cap - 1)] = nth(p, i);
    free(p->at);
    p->at = at;
    p->cap = cap;
}

static bool wants_value(const place_event_t *e)
{
    return !e->value && (e->state == PLACE_READY || e->state == PLACE_DEAD);
}

/* What the counts say of an event is taken back before it changes, and said again behind that. */
static void count_out(place_t *p, const place_event_t *e)
{
    p->counts[e->state]--;
    p->missing -= wants_value(e);
    if (!e->value) return;
    p->held--;
    *p->bytes -= e->len;
}

static void count_in(place_t *p, const place_event_t *e)
{
    p->counts[e->state]++;
    if (e->value) {
        p->held++;
        *p->bytes += e->len;
    }
    if (e->state == PLACE_READY && e->index < p->ready_from) p->ready_from = e->index;
    if (!wants_value(e)) return;
    p->missing++;
    if (e->index < p->missing_from) p->missing_from = e->index;
}

static void drop_value(place_event_t *e)
{
    free(e->value);
    e->value = NULL;
    e->len = 0;
}

static void keep_value(place_event_t *e, ensign_slice_t value)
{
    e->value = x_alloc(value.len);
    e->len = value.len;
    e->duplicate = wrapper_is_duplicate(value);
    if (value.len) memcpy(e->value, value.ptr, value.len);
}

static void move(place_t *p, place_event_t *e, place_state_t state)
{
    bool keeps = state == PLACE_READY || state == PLACE_CLAIMED || state == PLACE_DEAD;

    count_out(p, e);
    e->state = state;
    e->due = 0;
    if (!keeps) drop_value(e);
    count_in(p, e);
}

static void changed(place_t *p)
{
    kept_change(&p->record);
    p->touched(p);
}

/* The oldest events that are done leave, and the floor rises. */
static void settle(place_t *p)
{
    while (p->begin < p->end && nth(p, p->begin)->state == PLACE_DONE) {
        place_event_t *e = nth(p, p->begin++);
        count_out(p, e);
        p->floor = e->offset;
        free(e);
    }
    if (p->begin == p->end && p->floor < p->read_to) p->floor = p->read_to;
}

place_event_t *place_find(const place_t *p, const rlid_t *id)
{
    uint64_t low = p->begin, high = p->end;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int order = memcmp(&nth(p, middle)->id, id, sizeof *id);
        if (order == 0) return nth(p, middle);
        if (order > 0) high = middle;
        else low = middle + 1;
    }
    return NULL;
}

/* The index of the first event at or behind an offset. */
static uint64_t index_of(const place_t *p, uint64_t offset)
{
    uint64_t low = p->begin, high = p->end;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (nth(p, middle)->offset >= offset) high = middle;
        else low = middle + 1;
    }
    return low;
}

/* ---- what is in the record and not in the window yet */

static bool saved_done(place_t *p, uint64_t offset)
{
    const place_record_t *s = &p->saved;

    while (p->range_at < s->range_count && s->ranges[p->range_at].last < offset) p->range_at++;
    return p->range_at < s->range_count && s->ranges[p->range_at].first <= offset;
}

static const place_mark_t *saved_mark(place_t *p, uint64_t offset)
{
    const place_record_t *s = &p->saved;

    while (p->mark_at < s->mark_count && s->marks[p->mark_at].offset < offset) p->mark_at++;
    return p->mark_at < s->mark_count && s->marks[p->mark_at].offset == offset ? &s->marks[p->mark_at] : NULL;
}

static bool may_hold(const place_t *p, size_t len)
{
    return p->held == 0 || (p->held < PLACE_AHEAD && *p->bytes + len <= PLACE_BYTES);
}

/* The next event of the topic. */
static void append(place_t *p, const log_event_t *from)
{
    place_event_t *e = x_alloc(sizeof *e);
    const place_mark_t *mark = saved_mark(p, from->offset);
    bool saved = saved_done(p, from->offset), acked = p->is_done(p, &from->id);

    make_room(p);
    e->place = p;
    e->index = p->end++;
    e->offset = from->offset;
    e->id = from->id;
    e->committed = from->committed;
    e->state = saved || acked ? PLACE_DONE : mark && mark->dead ? PLACE_DEAD : PLACE_READY;
    if (mark) {
        e->failures = (uint32_t)mark->failures;
        e->since = mark->since;
        e->code = mark->code;
        e->tried = mark->dead;
        e->version = p->record.stored;
    }
    if (e->state != PLACE_DONE && may_hold(p, from->value.len)) keep_value(e, from->value);
    p->at[e->index & (p->cap - 1)] = e;
    p->read_to = from->offset;
    p->last_id = from->id;
    count_in(p, e);
    if (acked && !saved) changed(p);
    settle(p);
}

/* ---- reading */

static void on_read(log_request_t *r);
static void on_original(log_request_t *r);

static void first_missing(place_t *p)
{
    if (p->missing_from < p->begin) p->missing_from = p->begin;
    while (!wants_value(nth(p, p->missing_from))) p->missing_from++;
}

/* Those that wait for their value, from the first one on: a page of them. */
static void read_missing(place_t *p, log_read_t *r)
{
    uint64_t last = p->missing_from;

    r->after = nth(p, last)->offset - 1;
    for (uint64_t i = last; i < p->end && i - p->missing_from < PLACE_AHEAD; i++)
        if (wants_value(nth(p, i))) last = i;
    r->until = nth(p, last)->offset;
}

static void first_ready(place_t *p)
{
    if (p->ready_from < p->begin) p->ready_from = p->begin;
    while (p->ready_from < p->end && nth(p, p->ready_from)->state != PLACE_READY) p->ready_from++;
}

/* A duplicate whose turn it is. */
static place_event_t *to_restore(place_t *p)
{
    place_event_t *e;

    if (p->counts[PLACE_READY]) {
        first_ready(p);
        e = nth(p, p->ready_from);
        if (e->value && e->duplicate) return e;
    }
    for (uint64_t i = p->begin; p->counts[PLACE_DEAD] && i < p->end; i++) {
        e = nth(p, i);
        if (e->state == PLACE_DEAD && e->value && e->duplicate) return e;
    }
    return NULL;
}

/* A value that is missing where the next event to be handed out stands is read whatever is held: what is held
   is handed out behind it. */
static bool may_read(place_t *p)
{
    if (p->reading || p->idle) return false;
    if (!p->missing) return !p->live && count_of(p) < PLACE_EVENTS && may_hold(p, 1);
    first_missing(p);
    return may_hold(p, 1) || p->missing_from <= p->ready_from || nth(p, p->missing_from)->state == PLACE_DEAD;
}

static void read_original(place_t *p, place_event_t *e)
{
    log_read_t *r = &p->read;

    if (!dedup_original(slice_of(e->value, e->len), &r->id)) {  /* it names none */
        place_done(p, e);
        return;
    }
    p->restoring = e->offset;
    r->base.done = on_original;
    r->by_id = true;
    r->most_events = 1;
    p->reading = true;
    log_read(p->log, r);
}

static void read_more(place_t *p)
{
    log_read_t *r = &p->read;
    place_event_t *duplicate = p->reading || p->idle ? NULL : to_restore(p);

    if (!duplicate && !may_read(p)) return;
    memset(r, 0, sizeof *r);
    r->base.done = on_read;
    r->base.user = p;
    r->project = p->key.project;
    r->topics = &p->key.topic;
    r->topic_count = 1;
    r->most_events = PLACE_AHEAD;
    r->most_bytes = PLACE_PAGE;
    r->after = p->read_to;
    r->until = UINT64_MAX;
    if (duplicate) {
        read_original(p, duplicate);
        return;
    }
    if (p->missing) read_missing(p, r);
    p->reading = true;
    log_read(p->log, r);
}

static void give_value(place_t *p, const log_event_t *from)
{
    uint64_t i = index_of(p, from->offset);
    place_event_t *e = i < p->end ? nth(p, i) : NULL;

    if (!e || e->offset != from->offset || !wants_value(e)) return;
    count_out(p, e);
    keep_value(e, from->value);
    count_in(p, e);
}

/* What the read looked at and did not find is gone: its topic is being destroyed. */
static void drop_gone(place_t *p, const log_read_t *r)
{
    for (uint64_t i = index_of(p, r->after + 1); i < p->end && nth(p, i)->offset <= r->reached; i++) {
        place_event_t *e = nth(p, i);
        size_t k = 0;
        if (!wants_value(e)) continue;
        while (k < r->count && r->events[k].offset != e->offset) k++;
        if (k < r->count) continue;
        move(p, e, PLACE_DONE);
        changed(p);
    }
    settle(p);
}

static void on_read(log_request_t *base)
{
    log_read_t *r = (log_read_t *)base;
    place_t *p = base->user;
    bool whole = true;

    p->reading = false;
    p->touched(p);
    if (base->result != LOG_OK) return;
    for (size_t i = 0; i < r->count && whole; i++) {
        if (r->events[i].offset <= p->read_to) give_value(p, &r->events[i]);
        else if (count_of(p) < PLACE_EVENTS) append(p, &r->events[i]);
        else whole = false;
    }
    if (r->until != UINT64_MAX) {
        drop_gone(p, r);
        return;
    }
    if (!whole) return;
    if (r->reached > p->read_to) p->read_to = r->reached;
    p->live = r->end && p->read_to >= p->told;
    settle(p);
}

/* The duplicate may be done by now, or wait for another turn without its value. */
static void on_original(log_request_t *base)
{
    log_read_t *r = (log_read_t *)base;
    place_t *p = base->user;
    uint64_t i = index_of(p, p->restoring);
    place_event_t *e = i < p->end ? nth(p, i) : NULL;
    buf_t whole = { NULL, 0, 0, 0 };

    p->reading = false;
    p->touched(p);
    if (base->result != LOG_OK || !e || e->offset != p->restoring || !e->value || !e->duplicate) return;
    if (r->count && memcmp(&r->events[0].id, &r->id, sizeof r->id) == 0 &&
        restore_duplicate(slice_of(e->value, e->len), r->events[0].value, &whole)) {
        count_out(p, e);
        drop_value(e);
        keep_value(e, buf_bytes(&whole));
        e->duplicate = false;
        count_in(p, e);
    } else if (r->count || r->end) {
        place_done(p, e);
    }
    buf_free(&whole);
}

void place_told(place_t *p, const log_event_t *e)
{
    if (e->offset > p->told) p->told = e->offset;
    if (e->offset <= p->read_to) return;
    p->touched(p);
    if (p->live && count_of(p) < PLACE_EVENTS) append(p, e);
    else p->live = false;
}

/* ---- writing */

static void add_range(place_record_t *r, uint64_t first, uint64_t last, bool joins)
{
    if (joins) {
        r->ranges[r->range_count - 1].last = last;
        return;
    }
    r->ranges[r->range_count].first = first;
    r->ranges[r->range_count++].last = last;
}

static void add_mark(place_record_t *r, const place_event_t *e)
{
    place_mark_t *m = &r->marks[r->mark_count++];

    m->offset = e->offset;
    m->failures = e->failures;
    m->dead = e->state == PLACE_DEAD;
    m->since = e->since;
    m->code = e->code;
}

/* A range ends at an event that is not done. Between those of the window and those that were found and are
   not in it yet there is none: they may touch. */
static void record_of(const place_t *p, place_record_t *r)
{
    const place_record_t *s = &p->saved;
    bool joins = false;

    memset(r, 0, sizeof *r);
    r->epoch = log_epoch(p->log, &p->key.project);
    r->floor = p->floor;
    r->redeliveries = p->redeliveries;
    r->dead_letters = p->dead_letters;
    r->ranges = x_alloc(((size_t)count_of(p) + s->range_count) * sizeof *r->ranges);
    r->marks = x_alloc(((size_t)count_of(p) + s->mark_count) * sizeof *r->marks);
    for (uint64_t i = p->begin; i < p->end; i++) {
        const place_event_t *e = nth(p, i);
        bool done = e->state == PLACE_DONE || e->state == PLACE_CLAIMED;
        if (done) add_range(r, e->offset, e->offset, joins);
        else if (e->failures || e->state == PLACE_DEAD) add_mark(r, e);
        joins = done;
    }
    for (size_t i = p->range_at; i < s->range_count; i++) {
        uint64_t first = s->ranges[i].first;
        if (s->ranges[i].last <= p->read_to) continue;
        add_range(r, first > p->read_to ? first : p->read_to + 1, s->ranges[i].last, false);
    }
    for (size_t i = p->mark_at; i < s->mark_count; i++)
        if (s->marks[i].offset > p->read_to) r->marks[r->mark_count++] = s->marks[i];
}

static void make_record(kept_t *k, buf_t *value)
{
    const place_t *p = k->user;
    place_record_t r;

    if (p->removed) return;             /* an empty value removes the record */
    record_of(p, &r);
    place_record_put(value, &r);
    place_record_free(&r);
}

static void on_record(kept_t *k)
{
    place_t *p = k->user;
    p->touched(p);
}

bool place_is_stored(const place_t *p)
{
    return kept_is_stored(&p->record);
}

/* ---- opened, run, closed */

/* A log that was made anew has other events under the same offsets: all of them are new to the group. */
static void take_record(place_t *p, ensign_slice_t value)
{
    if (!place_record_read(&p->saved, value)) return;
    p->redeliveries = p->saved.redeliveries;
    p->dead_letters = p->saved.dead_letters;
    if (p->saved.epoch != log_epoch(p->log, &p->key.project)) {
        place_record_free(&p->saved);
        kept_change(&p->record);
    }
    p->floor = p->saved.floor;
}

void place_open(place_t *p, log_t *log, const place_key_t *key, uint64_t begin)
{
    ensign_slice_t value;

    p->log = log;
    p->key = *key;
    p->floor = begin;
    p->ready_from = p->missing_from = UINT64_MAX;
    p->record.make = make_record;
    p->record.done = on_record;
    p->record.user = p;
    place_key_put(&p->record.key, key);
    if (kept_open(&p->record, log, &value)) take_record(p, value);
    else kept_change(&p->record);
    p->read_to = p->floor;
    p->touched(p);
}

static void free_events(place_t *p)
{
    for (uint64_t i = p->begin; i < p->end; i++) {
        count_out(p, nth(p, i));
        drop_value(nth(p, i));
        free(nth(p, i));
    }
    p->begin = p->end;
}

void place_close(place_t *p)
{
    if (p->reading) log_cancel(p->log, &p->read.base);
    kept_close(&p->record);
    free_events(p);
    free(p->at);
    place_record_free(&p->saved);
    memset(p, 0, sizeof *p);
}

void place_wake(place_t *p, int64_t now)
{
    int64_t next = 0;

    if (p->wait_due == 0 || now < p->wait_due) return;
    for (uint64_t i = p->begin; i < p->end; i++) {
        place_event_t *e = nth(p, i);
        if (e->state != PLACE_WAIT) continue;
        if (e->due <= now) move(p, e, PLACE_READY);
        else if (next == 0 || e->due < next) next = e->due;
    }
    p->wait_due = next;
}

int64_t place_run(place_t *p)
{
    read_more(p);
    kept_run(&p->record);
    return p->wait_due;
}

/* ---- what group.c does to events */

static bool can_go(const place_t *p, const place_event_t *e)
{
    return e->state == PLACE_READY || (e->state == PLACE_CLAIMED && e->version <= p->record.stored);
}

place_event_t *place_next(place_t *p, uint64_t *index)
{
    uint64_t from = p->begin;

    if (p->counts[PLACE_READY] == 0 && p->counts[PLACE_CLAIMED] == 0) return NULL;
    first_ready(p);
    if (p->counts[PLACE_CLAIMED] == 0) from = p->ready_from;
    if (*index < from) *index = from;
    for (; *index < p->end; ++*index) {
        place_event_t *e = nth(p, *index);
        if (!can_go(p, e)) continue;
        if (!e->value || e->duplicate) return NULL;
        ++*index;
        return e;
    }
    return NULL;
}

place_event_t *place_next_dead(place_t *p)
{
    for (uint64_t i = p->begin; p->counts[PLACE_DEAD] && i < p->end; i++) {
        place_event_t *e = nth(p, i);
        if (e->state == PLACE_DEAD && e->value && !e->duplicate && e->version <= p->record.stored) return e;
    }
    return NULL;
}

size_t place_pending(const place_t *p)
{
    return p->counts[PLACE_OUT] + p->counts[PLACE_WAIT] + p->counts[PLACE_DEAD];
}

void place_claim(place_t *p, place_event_t *e)
{
    move(p, e, PLACE_CLAIMED);
    changed(p);
    e->version = p->record.version;
}

void place_out(place_t *p, place_event_t *e)
{
    if (e->failures || e->given) p->redeliveries++;
    e->given = true;
    move(p, e, PLACE_OUT);
}

void place_again(place_t *p, place_event_t *e, int64_t due)
{
    move(p, e, due ? PLACE_WAIT : PLACE_READY);
    e->due = due;
    if (due && (p->wait_due == 0 || due < p->wait_due)) p->wait_due = due;
    if (due) changed(p);                /* by its failures */
    else p->touched(p);
}

void place_dead(place_t *p, place_event_t *e, uint64_t since)
{
    move(p, e, PLACE_DEAD);
    e->since = since;
    changed(p);
    e->version = p->record.version;
}

void place_done(place_t *p, place_event_t *e)
{
    move(p, e, PLACE_DONE);
    changed(p);
    settle(p);
}

place_event_t *place_at(const place_t *p, uint64_t index)
{
    return nth(p, index);
}

void place_remove(place_t *p)
{
    place_idle(p, true);
    p->removed = true;
    changed(p);
}

void place_idle(place_t *p, bool idle)
{
    p->idle = idle;
    p->touched(p);
    for (uint64_t i = p->begin; idle && i < p->end; i++) {
        place_event_t *e = nth(p, i);
        if (e->state == PLACE_CLAIMED) {
            move(p, e, PLACE_READY);
            changed(p);
        }
        if (!e->value || e->burying) continue;
        count_out(p, e);
        drop_value(e);
        count_in(p, e);
    }
}
