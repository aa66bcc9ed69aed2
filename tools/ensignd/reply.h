/* reply.h - what the RPCs with one answer share: a message read, a message written; private to each file
   that includes this one, as messages.h is */
#ifndef ENSIGND_REPLY_H
#define ENSIGND_REPLY_H
#include "messages.h"
#include "service.h"

static inline ensign_slice_t slice(const void *p, size_t n)
{
    ensign_slice_t s;
    s.ptr = p;
    s.len = n;
    return s;
}

static inline bytes_t view(ensign_slice_t s)
{
    return bytes_of(s.ptr, s.len);
}

static inline bool decode(call_t *c, const pb_msgdesc_t *fields, void *message, bytes_t bytes)
{
    if (ensi_pb_decode(fields, message, bytes.ptr, bytes.len)) return true;
    call_end(c, GRPC_INTERNAL, TEXT_BAD_MESSAGE);
    return false;
}

static inline bool encode(buf_t *out, const pb_msgdesc_t *fields, const void *message)
{
    size_t n, written = 0;
    if (!ensi_pb_size(fields, message, &n) || !ensi_pb_encode(fields, message, buf_room(out, n), n, &written))
        return false;
    out->end += written;
    return true;
}

static inline void reply(call_t *c, const pb_msgdesc_t *fields, const void *message)
{
    buf_t b = { NULL, 0, 0, 0 };
    if (encode(&b, fields, message)) {
        call_send(c, buf_bytes(&b));
        call_end(c, GRPC_OK, NULL);
    } else {
        call_end(c, GRPC_INTERNAL, "the reply could not be encoded");
    }
    buf_free(&b);
}

static inline void put_field(buf_t *b, uint32_t tag, ensign_slice_t value)
{
    size_t n = ensi_pb_bytes_size(tag, value.len);
    ensi_pb_put_bytes(buf_room(b, n), tag, value);
    b->end += n;
}

static inline ensi_pb_timestamp_t wall_in(int64_t seconds)
{
    ensi_pb_timestamp_t t;
    wall_now(&t.seconds, &t.nanos);
    t.seconds += seconds;
    return t;
}
#endif
