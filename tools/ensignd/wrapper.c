/* wrapper.c - see wrapper.h */
#include "wrapper.h"
#include <string.h>

#define TOPIC_FIELD 18u         /* bytes: tag, length, ULID */

static size_t number_size(uint64_t v)
{
    return v ? 1 + msg_varint_size(v) : 0;
}

static uint8_t *put_number(uint8_t *p, uint32_t tag, uint64_t v)
{
    if (v == 0) return p;
    *p++ = (uint8_t)(tag << 3);
    return msg_put_varint(p, v);
}

size_t stamp_size(stamp_t t)
{
    return 2 + number_size((uint64_t)t.seconds) + number_size((uint64_t)t.nanos);
}

uint8_t *stamp_write(uint8_t *p, uint32_t tag, stamp_t t)
{
    *p++ = (uint8_t)(tag << 3 | MSG_WIRE_BYTES);
    *p++ = (uint8_t)(stamp_size(t) - 2);
    p = put_number(p, 1, (uint64_t)t.seconds);
    return put_number(p, 2, (uint64_t)t.nanos);
}

/* The front of a value that is its topic; publishers' encoders and ours write it there. */
static size_t topic_size(ensign_slice_t value)
{
    bool there = value.len >= TOPIC_FIELD && value.ptr[1] == sizeof(ulid_t) &&
                 value.ptr[0] == (MSG_EVENT_WRAPPER_TOPIC_ID_TAG << 3 | MSG_WIRE_BYTES);
    return there ? TOPIC_FIELD : 0;
}

static uint8_t *put_bytes(uint8_t *p, ensign_slice_t bytes)
{
    if (bytes.len) memcpy(p, bytes.ptr, bytes.len);
    return p + bytes.len;
}

/* The field of a time of its own, as it lies in the value; or no bytes, at the end. */
static ensign_slice_t own_time(ensign_slice_t value)
{
    const uint8_t *p = value.ptr, *end = value.len ? p + value.len : p, *from;
    msg_item_t field;

    for (from = p; p < end && msg_item_next(&p, end, &field); from = p)
        if (field.tag == MSG_EVENT_WRAPPER_COMMITTED_TAG) return slice_of(from, (size_t)(p - from));
    return slice_of(end, 0);
}

static stamp_t time_of(const log_event_t *e, ensign_slice_t value, ensign_slice_t own)
{
    msg_event_wrapper_t w;
    stamp_t t = e->committed;

    if (own.len == 0 || !msg_decode(MSG_EVENT_WRAPPER, &w, value)) return t;
    t.seconds = w.committed.seconds;
    t.nanos = w.committed.nanos;
    return t;
}

stamp_t wrapper_committed(const log_event_t *e)
{
    return time_of(e, e->value, own_time(e->value));
}

void wrapper_of(wrapper_t *w, const log_event_t *e, ensign_slice_t value, uint64_t epoch, bool timed)
{
    ensign_slice_t own = own_time(value);
    size_t before = value.len ? (size_t)(own.ptr - value.ptr) : 0;

    w->event = e;
    w->before = slice_of(value.ptr, before);
    w->after = slice_of(value.len ? own.ptr + own.len : NULL, value.len - before - own.len);
    w->epoch = epoch;
    w->timed = timed;
    w->committed = time_of(e, value, own);
}

size_t wrapper_size(const wrapper_t *w)
{
    size_t n = msg_bytes_size(MSG_EVENT_WRAPPER_ID_TAG, sizeof w->event->id.b) + w->before.len + w->after.len;

    if (w->epoch) n += number_size(w->event->offset) + number_size(w->epoch);
    return w->timed ? n + stamp_size(w->committed) : n;
}

uint8_t *wrapper_write(uint8_t *p, const wrapper_t *w)
{
    size_t topic = topic_size(w->before);

    p = msg_put_bytes(p, MSG_EVENT_WRAPPER_ID_TAG, slice_of(w->event->id.b, sizeof w->event->id.b));
    p = put_bytes(p, slice_of(w->before.ptr, topic));
    if (w->epoch) {
        p = put_number(p, MSG_EVENT_WRAPPER_OFFSET_TAG, w->event->offset);
        p = put_number(p, MSG_EVENT_WRAPPER_EPOCH_TAG, w->epoch);
    }
    if (w->before.len) p = put_bytes(p, slice_of(w->before.ptr + topic, w->before.len - topic));
    p = put_bytes(p, w->after);
    return w->timed ? stamp_write(p, MSG_EVENT_WRAPPER_COMMITTED_TAG, w->committed) : p;
}

void wrapper_complete(msg_event_wrapper_t *w, const log_event_t *e, uint64_t epoch, bool strict)
{
    w->id = slice_of(e->id.b, sizeof e->id.b);
    if (!strict && !w->has_committed) {
        w->committed.seconds = e->committed.seconds;
        w->committed.nanos = e->committed.nanos;
    }
    w->has_committed = !strict;
    if (strict) return;
    w->offset = e->offset;
    w->epoch = epoch;
}

/* It is looked for in each event that is delivered, so nothing else is decoded. */
bool wrapper_is_duplicate(ensign_slice_t value)
{
    const uint8_t *p = value.ptr, *end = value.len ? p + value.len : p;
    msg_item_t field;

    while (p < end && msg_item_next(&p, end, &field))
        if (field.tag == MSG_EVENT_WRAPPER_IS_DUPLICATE_TAG) return field.value.len && field.value.ptr[0];
    return false;
}
