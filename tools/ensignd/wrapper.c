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

size_t wrapper_size(const wrapper_t *w)
{
    size_t n = msg_bytes_size(MSG_EVENT_WRAPPER_ID_TAG, sizeof w->event->id.b) + w->value.len;

    if (w->epoch) n += number_size(w->event->offset) + number_size(w->epoch);
    return w->committed ? n + stamp_size(w->event->committed) : n;
}

uint8_t *wrapper_write(uint8_t *p, const wrapper_t *w)
{
    size_t topic = topic_size(w->value);

    p = msg_put_bytes(p, MSG_EVENT_WRAPPER_ID_TAG, slice_of(w->event->id.b, sizeof w->event->id.b));
    p = put_bytes(p, slice_of(w->value.ptr, topic));
    if (w->epoch) {
        p = put_number(p, MSG_EVENT_WRAPPER_OFFSET_TAG, w->event->offset);
        p = put_number(p, MSG_EVENT_WRAPPER_EPOCH_TAG, w->epoch);
    }
    if (w->value.len) p = put_bytes(p, slice_of(w->value.ptr + topic, w->value.len - topic));
    return w->committed ? stamp_write(p, MSG_EVENT_WRAPPER_COMMITTED_TAG, w->event->committed) : p;
}

void wrapper_complete(msg_event_wrapper_t *w, const log_event_t *e, uint64_t epoch, bool strict)
{
    w->id = slice_of(e->id.b, sizeof e->id.b);
    w->has_committed = !strict;
    if (strict) return;
    w->offset = e->offset;
    w->epoch = epoch;
    w->committed.seconds = e->committed.seconds;
    w->committed.nanos = e->committed.nanos;
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
