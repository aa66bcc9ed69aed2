/* broker.c - see broker.h */
#include "broker.h"
#include <stdlib.h>
#include <string.h>

#define KEY_BYTES 26            /* topic ULID, RLID */
#define ARENA_KEEP (16u << 20)  /* a larger one is given back after its batch */

bool broker_open(broker_t *b, store_t *s, const topics_t *t, const broker_hooks_t *hooks, why_t *why)
{
    buf_t key = { NULL, 0, 0, 0 };
    bool ok = true;

    memset(b, 0, sizeof *b);
    b->store = s;
    b->hooks = hooks;
    for (size_t i = 0; ok && i < t->count; i++) {
        int64_t ms = 0;
        ok = store_tail(s, STORE_EVENT, slice_of(t->all[i]->id.b, 16), &key, why);
        if (buf_len(&key) != KEY_BYTES) continue;
        for (int k = 0; k < 6; k++) ms = ms << 8 | key.ptr[key.start + 16 + (size_t)k];
        if (ms > b->last_ms) b->last_ms = ms;
    }
    /* The sequence starts anew, so the same millisecond could give the same id again. */
    b->last_ms++;
    buf_free(&key);
    return ok;
}

void broker_next(broker_t *b, rlid_t *id, stamp_t *committed)
{
    if (b->count == 0) {
        int64_t ms;
        wall_now(&b->now.seconds, &b->now.nanos);
        ms = b->now.seconds * 1000 + b->now.nanos / 1000000;
        if (ms > b->last_ms) b->last_ms = ms;
    }
    if (++b->sequence == 0) b->last_ms++;       /* it has wrapped: keep the order */
    *id = rlid_make(b->last_ms, b->sequence);
    *committed = b->now;
}

rlid_t broker_last(const broker_t *b)
{
    return rlid_make(b->last_ms, b->sequence);
}

uint8_t *broker_room(broker_t *b, size_t n, size_t *at)
{
    uint8_t *p = buf_room(&b->arena, n);
    *at = b->arena.end;
    return p;
}

static void grow(broker_t *b)
{
    b->cap = b->cap ? 2 * b->cap : 1024;
    b->events = x_realloc(b->events, b->cap * sizeof *b->events);
    b->records = x_realloc(b->records, b->cap * sizeof *b->records);
    b->keys = x_realloc(b->keys, b->cap * KEY_BYTES);
}

void broker_put(broker_t *b, const broker_event_t *e, size_t arena_end)
{
    if (b->count == b->cap) grow(b);
    b->events[b->count++] = *e;
    b->arena.end = arena_end;
}

static bool keep(broker_t *b, why_t *why)
{
    for (size_t i = 0; i < b->count; i++) {
        const broker_event_t *e = &b->events[i];
        uint8_t *key = b->keys + i * KEY_BYTES;
        memcpy(key, e->topic->id.b, 16);
        memcpy(key + 16, e->id.b, 10);
        b->records[i].space = STORE_EVENT;
        b->records[i].key = slice_of(key, KEY_BYTES);
        b->records[i].value = slice_of(b->arena.ptr + e->wrapper, e->stored_len);
    }
    return store_append(b->store, b->records, b->count, why) && store_commit(b->store, why);
}

static void tell(broker_t *b, bool kept)
{
    for (size_t i = 0; i < b->count; i++) {
        const broker_event_t *e = &b->events[i];
        ensign_slice_t local_id = slice_of(b->arena.ptr + e->local_id, e->local_id_len);
        if (!kept) {
            b->hooks->nack(e->publisher, local_id);
            continue;
        }
        for (size_t k = 0; k < e->topic->subscriber_count; k++)
            b->hooks->deliver(e->topic->subscribers[k], slice_of(b->arena.ptr + e->frame, e->frame_len));
        b->hooks->ack(e->publisher, local_id, b->now);
    }
}

void broker_commit(broker_t *b)
{
    why_t why;
    bool kept;

    if (b->count == 0) return;
    kept = keep(b, &why);
    if (!kept) log_line("%zu events refused: %s", b->count, why.text);
    tell(b, kept);
    if (kept) b->total += b->count;
    else b->failed += b->count;
    b->count = 0;
    b->arena.start = b->arena.end = 0;
    if (b->arena.cap > ARENA_KEEP) buf_free(&b->arena);
}

void broker_subscribe(topic_t *t, void *subscriber)
{
    if (t->subscriber_count == t->subscriber_cap) {
        t->subscriber_cap = t->subscriber_cap ? 2 * t->subscriber_cap : 4;
        t->subscribers = x_realloc(t->subscribers, t->subscriber_cap * sizeof *t->subscribers);
    }
    t->subscribers[t->subscriber_count++] = subscriber;
}

void broker_unsubscribe(topic_t *t, void *subscriber)
{
    for (size_t i = 0; i < t->subscriber_count; i++) {
        if (t->subscribers[i] != subscriber) continue;
        t->subscribers[i] = t->subscribers[--t->subscriber_count];
        return;
    }
}

void broker_close(broker_t *b)
{
    buf_free(&b->arena);
    free(b->events);
    free(b->records);
    free(b->keys);
    memset(b, 0, sizeof *b);
}
