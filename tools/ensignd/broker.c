/* broker.c - see broker.h */
#include "broker.h"
#include "wrapper.h"
#include <stdlib.h>
#include <string.h>

void broker_open(broker_t *b, log_t *l, const broker_hooks_t *hooks)
{
    memset(b, 0, sizeof *b);
    b->log = l;
    b->hooks = hooks;
}

bool broker_busy(const broker_t *b)
{
    return b->under_way || b->batch;
}

static void answered(log_request_t *r)
{
    broker_batch_t *x = r->user;
    broker_t *b = x->broker;
    for (size_t i = 0; i < x->count; i++) {
        ensign_slice_t local = slice_of(x->arena.ptr + x->events[i].local_id, x->events[i].local_id_len);
        buf_t row = { NULL, 0, 0, 0 }, frame = row, reply = row;
        log_event_t e;
        uint8_t head[5];
        if (r->result != LOG_OK) { b->hooks->nack(x->events[i].publisher, local); b->failed++; continue; }
        memset(&e, 0, sizeof e);
        e.offset = x->append.events[i].offset;
        e.committed = x->append.committed;
        e.id = rlid_make(e.committed.seconds * 1000 + e.committed.nanos / 1000000, (uint32_t)e.offset);
        wrapper_put(&row, &e, x->append.events[i].value, log_epoch(b->log, &x->append.project), b->strict);
        msg_put_field(&reply, MSG_SUBSCRIBE_REPLY_EVENT_TAG, buf_bytes(&row));
        head[0] = 0;
        for (unsigned k = 0; k < 4; k++) head[1 + k] = (uint8_t)(buf_len(&reply) >> (24 - 8 * k) & 0xff);
        buf_put(&frame, head, 5);
        buf_put(&frame, reply.ptr, buf_len(&reply));
        for (size_t k = 0; k < x->events[i].topic->subscriber_count; k++)
            b->hooks->deliver(x->events[i].topic->subscribers[k], buf_bytes(&frame));
        b->hooks->ack(x->events[i].publisher, local, e.committed);
        b->total++;
        buf_free(&row); buf_free(&frame); buf_free(&reply);
    }
    b->under_way--;
    free(x->append.events);
    free(x->events);
    buf_free(&x->arena);
    free(x);
}

static void flush(broker_t *b)
{
    broker_batch_t *x = b->batch;
    if (!x) return;
    b->batch = NULL;
    b->under_way++;
    x->append.base.done = answered;
    x->append.base.user = x;
    x->append.events = x_alloc(x->count * sizeof *x->append.events);
    x->append.count = x->count;
    for (size_t i = 0; i < x->count; i++) {
        x->append.events[i].topic = x->events[i].topic->id;
        x->append.events[i].value = slice_of(x->arena.ptr + x->events[i].value, x->events[i].value_len);
    }
    log_append(b->log, &x->append);
}

void broker_put(broker_t *b, void *publisher, topic_t *t, ensign_slice_t value, ensign_slice_t local_id)
{
    broker_batch_t *x = b->batch;
    if (x && !ulid_eq(&x->append.project, &t->project)) { flush(b); x = NULL; }
    if (!x) {
        x = b->batch = x_alloc(sizeof *x);
        x->broker = b;
        x->append.project = t->project;
    }
    if (x->count == x->cap) {
        x->cap = x->cap ? 2 * x->cap : 64;
        x->events = x_realloc(x->events, x->cap * sizeof *x->events);
    }
    x->events[x->count].publisher = publisher;
    x->events[x->count].topic = t;
    x->events[x->count].value = x->arena.end;
    x->events[x->count].value_len = value.len;
    buf_put(&x->arena, value.ptr, value.len);
    x->events[x->count].local_id = x->arena.end;
    x->events[x->count].local_id_len = local_id.len;
    buf_put(&x->arena, local_id.ptr, local_id.len);
    x->count++;
}

void broker_commit(broker_t *b)
{
    flush(b);
    log_run(b->log);
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
    memset(b, 0, sizeof *b);
}
