/* wrapper.c - see wrapper.h */
#include "wrapper.h"
#include <string.h>

#define HEAD_BYTES 34           /* a field of 10 bytes, and two numbers */
#define STAMP_BYTES 24

static uint8_t *put_number(uint8_t *p, uint32_t tag, uint64_t v)
{
    if (v == 0) return p;
    *p++ = (uint8_t)(tag << 3);
    return msg_put_varint(p, v);
}

static uint8_t *put_stamp(uint8_t *p, uint32_t tag, stamp_t t)
{
    uint8_t bytes[STAMP_BYTES], *end = put_number(bytes, 1, (uint64_t)t.seconds);

    end = put_number(end, 2, (uint64_t)t.nanos);
    return msg_put_bytes(p, tag, slice_of(bytes, (size_t)(end - bytes)));
}

void wrapper_put(buf_t *out, const log_event_t *e, ensign_slice_t value, uint64_t epoch, bool strict)
{
    uint8_t *start = buf_room(out, HEAD_BYTES + value.len + STAMP_BYTES), *p = start;

    p = msg_put_bytes(p, MSG_EVENT_WRAPPER_ID_TAG, slice_of(e->id.b, sizeof e->id.b));
    if (!strict) {
        p = put_number(p, MSG_EVENT_WRAPPER_OFFSET_TAG, e->offset);
        p = put_number(p, MSG_EVENT_WRAPPER_EPOCH_TAG, epoch);
    }
    if (value.len) memcpy(p, value.ptr, value.len);
    p += value.len;
    if (!strict) p = put_stamp(p, MSG_EVENT_WRAPPER_COMMITTED_TAG, e->committed);
    out->end += (size_t)(p - start);
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
