/* dead_letter.c - see dead_letter.h
 *
 * Moves  a burial finds its topic, or makes it: mark, then topic; looks for the event there if it was tried
 *        before; appends it; and tells the group. Where the log fails it tells that, and the group begins
 *        another one later. One request is under way at a time. */
#include "dead_letter.h"
#include "messages.h"
#include "topic_state.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX "-dead"
#define WRAPPED_TYPE "EventWrapper"
#define PAGE_EVENTS 256
#define PAGE_BYTES (1u << 20)

struct burial_t {
    service_t     *service;
    group_place_t *place;
    dead_reason_t  why;
    char          *topic_name;          /* of the reason */
    buf_t          name, stored, letter;        /* of the topic; the event as it was, as it will be */
    uint64_t       since;
    bool           tried;
    ulid_t         topic;
    buf_t          key, value;          /* of the put */
    log_put_t      put;
    log_read_t     read;
    log_append_t   append;
    log_new_t      event;
    burial_t      *next, **back;
};

/* ---- the event */

void dead_letter_name(ensign_slice_t name, buf_t *out)
{
    size_t most = TOPIC_NAME_MAX - (sizeof SUFFIX - 1);
    name_hash_t hash;
    char text[HASH_TEXT + 3];

    if (name.len > most) {
        hash = name_hash(name);
        base64url(slice_of(hash.b, sizeof hash.b), text);
        buf_put(out, name.ptr, most - 1 - HASH_TEXT);
        buf_put(out, "-", 1);
        buf_put(out, text, HASH_TEXT);
    } else {
        buf_put(out, name.ptr, name.len);
    }
    buf_put(out, SUFFIX, sizeof SUFFIX - 1);
}

static void put_pair(buf_t *out, const char *key, ensign_slice_t value)
{
    buf_t entry = { NULL, 0, 0, 0 };

    msg_put_field(&entry, MSG_EVENT_METADATA_ENTRY_KEY_TAG, slice_text(key));
    msg_put_field(&entry, MSG_EVENT_METADATA_ENTRY_VALUE_TAG, value);
    msg_put_field(out, MSG_EVENT_METADATA_TAG, buf_bytes(&entry));
    buf_free(&entry);
}

static void put_number(buf_t *out, const char *key, uint64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRIu64, value);
    put_pair(out, key, slice_text(text));
}

/* The texts by which an event is known again. */
typedef struct marks_t { char group[GROUP_ID * 4 / 3 + 4], topic[ULID_TEXT + 1], offset[24]; } marks_t;

static void marks_of(const dead_reason_t *why, marks_t *m)
{
    base64url(slice_of(why->group_id, GROUP_ID), m->group);
    ulid_text(&why->topic_id, m->topic);
    snprintf(m->offset, sizeof m->offset, "%" PRIu64, why->offset);
}

static void put_reason(buf_t *out, const dead_reason_t *why)
{
    marks_t m;
    char id[RLID_TEXT + 1];

    marks_of(why, &m);
    rlid_text(&why->id, id);
    put_pair(out, DEAD_REASON, slice_text(nack_name(why->code)));
    put_number(out, DEAD_DELIVERIES, why->deliveries);
    if (*why->group) put_pair(out, DEAD_GROUP, slice_text(why->group));
    put_pair(out, DEAD_GROUP_ID, slice_text(m.group));
    put_pair(out, DEAD_TOPIC, why->topic);
    put_pair(out, DEAD_TOPIC_ID, slice_text(m.topic));
    put_pair(out, DEAD_OFFSET, slice_text(m.offset));
    put_pair(out, DEAD_ID, slice_text(id));
}

/* Its Event may be given more metadata. */
static bool is_open(const msg_event_wrapper_t *w)
{
    const msg_encryption_t *e = &w->encryption;
    msg_event_t event;

    if (w->has_encryption && (e->encryption_algorithm || e->signature_algorithm || e->signature.len))
        return false;
    if (w->has_compression && w->compression.algorithm) return false;
    return msg_decode(MSG_EVENT, &event, w->event);
}

static bool put_wrapped(buf_t *out, ensign_slice_t stored)
{
    msg_event_t e;

    memset(&e, 0, sizeof e);
    e.data = stored;
    e.mimetype = ENSIGN_MIME_APPLICATION_PROTOBUF;
    e.has_type = true;
    e.type.name = slice_text(WRAPPED_TYPE);
    e.type.major_version = 1;
    return msg_put(out, MSG_EVENT, &e);
}

bool dead_letter_put(buf_t *out, ensign_slice_t stored, const ulid_t *dead_topic, const dead_reason_t *why)
{
    msg_event_wrapper_t w;
    buf_t event = { NULL, 0, 0, 0 };
    bool readable = msg_decode(MSG_EVENT_WRAPPER, &w, stored), ok;

    if (readable && is_open(&w)) {
        buf_put(&event, w.event.ptr, w.event.len);
    } else {
        if (!readable) memset(&w, 0, sizeof w);
        if (!put_wrapped(&event, stored)) return false;
        w.has_encryption = w.has_compression = false;
    }
    put_reason(&event, why);
    w.event = buf_bytes(&event);
    w.topic_id = slice_of(dead_topic->b, sizeof dead_topic->b);
    w.is_duplicate = w.has_committed = false;
    w.duplicate_id.len = 0;
    ok = msg_put(out, MSG_EVENT_WRAPPER, &w);
    buf_free(&event);
    return ok;
}

bool dead_letter_is(ensign_slice_t stored, const dead_reason_t *why)
{
    static const char *const keys[] = { DEAD_GROUP_ID, DEAD_TOPIC_ID, DEAD_OFFSET };
    msg_event_wrapper_t w;
    msg_event_t e;
    msg_event_metadata_entry_t pair;
    ensign_slice_t entry, values[3];
    size_t at = 0;
    unsigned found = 0;
    marks_t m;

    marks_of(why, &m);
    values[0] = slice_text(m.group);
    values[1] = slice_text(m.topic);
    values[2] = slice_text(m.offset);
    if (!msg_decode(MSG_EVENT_WRAPPER, &w, stored) || !msg_decode(MSG_EVENT, &e, w.event)) return false;
    while (msg_next(e.metadata, MSG_EVENT_METADATA_TAG, &at, &entry)) {
        if (!msg_decode(MSG_EVENT_METADATA_ENTRY, &pair, entry)) continue;
        for (unsigned i = 0; i < 3; i++)
            if (slice_is(pair.key, keys[i]) && slice_eq(pair.value, values[i])) found |= 1u << i;
    }
    return found == 7;
}

/* ---- a burial */

static void find_topic(burial_t *b);

static void burial_free(burial_t *b)
{
    *b->back = b->next;
    if (b->next) b->next->back = b->back;
    free(b->topic_name);
    buf_free(&b->name);
    buf_free(&b->stored);
    buf_free(&b->letter);
    buf_free(&b->key);
    buf_free(&b->value);
    free(b);
}

static void end(burial_t *b, bool done)
{
    group_place_t *p = b->place;

    burial_free(b);
    group_buried(p, done, now_ms());
}

static void ask(burial_t *b, log_request_t *r, void (*done)(log_request_t *r))
{
    memset(r, 0, sizeof *r);
    r->done = done;
    r->user = b;
}

/* False: the log failed, and the burial has ended. */
static bool answered(burial_t *b, const log_request_t *r)
{
    if (r->result == LOG_OK || r->result == LOG_CHANGED) return true;
    log_line("an event of topic %s is not in topic %.*s yet: %s", b->topic_name, (int)buf_len(&b->name),
             (const char *)b->name.ptr, r->why.text);
    end(b, false);
    return false;
}

/* Whatever the answer is, the table of topics knows by now what is there. */
static void on_put(log_request_t *r)
{
    burial_t *b = r->user;
    if (answered(b, r)) find_topic(b);
}

static void put(burial_t *b, uint64_t revision)
{
    ask(b, &b->put.base, on_put);
    b->put.key = buf_bytes(&b->key);
    b->put.value = buf_bytes(&b->value);
    b->put.revision = revision;
    log_put(b->service->log, &b->put);
}

static void clear(buf_t *b)
{
    b->start = b->end = 0;
}

static void mark_topic(burial_t *b, const ulid_t *id)
{
    clear(&b->key);
    clear(&b->value);
    topic_dead_key(id, &b->key);
    buf_put(&b->value, b->why.topic_id.b, sizeof b->why.topic_id.b);
    put(b, LOG_ANY_REVISION);
}

static void make_topic(burial_t *b)
{
    msg_topic_t t;

    memset(&t, 0, sizeof t);
    t.id = slice_of(b->topic.b, sizeof b->topic.b);
    t.name = buf_bytes(&b->name);
    t.has_deduplication = true;
    t.deduplication.strategy = MSG_DEDUPLICATION_STRATEGY_NONE;
    t.deduplication.offset = MSG_DEDUPLICATION_OFFSET_POSITION_OFFSET_EARLIEST;
    clear(&b->key);
    clear(&b->value);
    topic_record_key(&b->read.project, t.name, &b->key);
    if (topic_message_put(&b->value, &b->read.project, &t)) put(b, 0);
    else end(b, false);
}

static void on_append(log_request_t *r)
{
    burial_t *b = r->user;

    if (!answered(b, r)) return;
    log_line("group %s: an event of topic %s was delivered %u times (%s) and is now in topic %.*s",
             b->why.group, b->topic_name, (unsigned)b->why.deliveries, nack_name(b->why.code),
             (int)buf_len(&b->name), (const char *)b->name.ptr);
    end(b, true);
}

static void append_letter(burial_t *b)
{
    if (!dead_letter_put(&b->letter, buf_bytes(&b->stored), &b->topic, &b->why)) {
        end(b, false);
        return;
    }
    ask(b, &b->append.base, on_append);
    b->event.topic = b->topic;
    b->event.value = buf_bytes(&b->letter);
    b->append.project = b->read.project;
    b->append.events = &b->event;
    b->append.count = 1;
    log_append(b->service->log, &b->append);
}

static void search(burial_t *b);

static void on_page(log_request_t *base)
{
    burial_t *b = base->user;
    const log_read_t *r = &b->read;

    if (!answered(b, base)) return;
    for (size_t i = 0; i < r->count; i++) {
        if (!dead_letter_is(r->events[i].value, &b->why)) continue;
        end(b, true);
        return;
    }
    b->since = r->reached;
    if (r->end) append_letter(b);
    else search(b);
}

static void search(burial_t *b)
{
    log_read_t *r = &b->read;

    ask(b, &r->base, on_page);
    r->topics = &b->topic;
    r->topic_count = 1;
    r->after = b->since;
    r->until = UINT64_MAX;
    r->most_events = PAGE_EVENTS;
    r->most_bytes = PAGE_BYTES;
    log_read(b->service->log, r);
}

/* One that is being destroyed takes nothing more: it is made again when it is gone. */
static void find_topic(burial_t *b)
{
    const topic_t *t = topics_by_name(b->service->topics, &b->read.project, buf_bytes(&b->name));
    ensign_slice_t value;
    uint64_t revision;

    if (t && t->deleting) {
        end(b, false);
    } else if (t && t->dead_letters) {
        b->topic = t->id;
        if (b->tried) search(b);
        else append_letter(b);
    } else if (t) {
        mark_topic(b, &t->id);
    } else {
        clear(&b->key);
        topic_dead_key(&b->topic, &b->key);
        if (log_get(b->service->log, buf_bytes(&b->key), &value, &revision)) make_topic(b);
        else mark_topic(b, &b->topic);
    }
}

void dead_letter_bury(void *user, group_place_t *p, const place_event_t *e)
{
    service_t *s = user;
    const topic_t *t = topics_by_id(s->topics, &p->place.key.topic);
    burial_t *b;

    if (!t) {                           /* destroyed, with all of its events */
        group_buried(p, true, now_ms());
        return;
    }
    b = x_alloc(sizeof *b);
    b->service = s;
    b->place = p;
    b->topic_name = x_strdup(t->name);
    b->why.group = group_name(p->group);
    b->why.group_id = group_id(p->group);
    b->why.topic = slice_text(b->topic_name);
    b->why.topic_id = t->id;
    b->why.offset = e->offset;
    b->why.id = e->id;
    b->why.code = e->code;
    b->why.deliveries = e->failures;
    b->since = e->since;
    b->tried = e->tried;
    b->topic = ulid_new();
    b->read.project = t->project;
    dead_letter_name(slice_text(t->name), &b->name);
    buf_put(&b->stored, e->value, e->len);
    b->next = s->burials;
    b->back = &s->burials;
    if (b->next) b->next->back = &b->next;
    s->burials = b;
    find_topic(b);
}

void dead_letters_free(service_t *s)
{
    while (s->burials) burial_free(s->burials);
}
