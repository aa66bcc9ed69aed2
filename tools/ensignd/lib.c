/* lib.c - ensign.h itself, in a unit of its own. The server uses none of it but the codec of the messages;
   see messages.h */
#define ENSIGN_NO_SOCKETS
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#include "../common/group_messages.h"
#include "messages.h"

typedef ensign_slice_t span_t;          /* what messages.h calls a slice of a repeated field */

/* message_types.h is of this ensign.h. */
#define SAME_SIZE(upper, lower) \
    typedef char same_size_##lower[sizeof(msg_##lower##_t) == sizeof(ensi_pb_##lower##_t) ? 1 : -1];
MSG_KINDS(SAME_SIZE)

static const pb_msgdesc_t *fields_of(msg_kind_t kind)
{
#define FIELDS(upper, lower) ensi_pb_##lower##_fields,
    static const pb_msgdesc_t *const fields[] = { MSG_KINDS(FIELDS) };
    return fields[kind];
}

bool msg_decode(msg_kind_t kind, void *message, ensign_slice_t bytes)
{
    return ensi_pb_decode(fields_of(kind), message, bytes.ptr, bytes.len);
}

bool msg_size(msg_kind_t kind, const void *message, size_t *size)
{
    return ensi_pb_size(fields_of(kind), message, size);
}

bool msg_encode(msg_kind_t kind, const void *message, uint8_t *out, size_t cap, size_t *size)
{
    return ensi_pb_encode(fields_of(kind), message, out, cap, size);
}

bool msg_put(buf_t *out, msg_kind_t kind, const void *message)
{
    size_t n, written = 0;

    if (!msg_size(kind, message, &n) || !msg_encode(kind, message, buf_room(out, n), n, &written))
        return false;
    out->end += written;
    return true;
}

void msg_put_field(buf_t *out, uint32_t tag, ensign_slice_t value)
{
    size_t n = msg_bytes_size(tag, value.len);

    msg_put_bytes(buf_room(out, n), tag, value);
    out->end += n;
}

bool msg_next(ensign_slice_t fields, uint32_t tag, size_t *at, ensign_slice_t *value)
{
    span_t span;

    span.ptr = fields.ptr;
    span.len = fields.len;
    return ensi_pb_span_next(span, tag, at, value);
}

bool msg_item_next(const uint8_t **at, const uint8_t *end, msg_item_t *item)
{
    ensi_pb_item_t x;

    if (!ensi_pb_item_next(at, end, &x)) return false;
    item->tag = x.tag;
    item->wire = x.wire;
    item->value = x.value;
    return true;
}

msg_type_t msg_event_type(const msg_event_t *e)
{
    msg_type_t t;

    memset(&t, 0, sizeof t);
    if (e->has_type) t = e->type;
    if (t.name.len == 0 && t.major_version == 0 && t.minor_version == 0 && t.patch_version == 0)
        t.name = slice_text(MSG_UNTYPED);
    return t;
}

size_t msg_varint_size(uint64_t value)
{
    return ensi_pb_varint_size(value);
}

uint8_t *msg_put_varint(uint8_t *p, uint64_t value)
{
    return ensi_pb_put_varint(p, value);
}

size_t msg_bytes_size(uint32_t tag, size_t len)
{
    return ensi_pb_bytes_size(tag, len);
}

uint8_t *msg_put_bytes(uint8_t *p, uint32_t tag, ensign_slice_t value)
{
    return ensi_pb_put_bytes(p, tag, value);
}

size_t base64(ensign_slice_t in, char *out)
{
    size_t n = 0;

    (void)ensi_base64_encode(in.ptr, in.len, true, out, BASE64_ROOM(in.len) - 1, &n);
    out[n] = '\0';
    return n;
}

bool base64_parse(ensign_slice_t in, uint8_t *out, size_t *len)
{
    return ensi_base64_decode((const char *)in.ptr, in.len, false, out, in.len, len) == ENSIGN_OK;
}
