/* messages.h - protobuf messages that are made from a fuzz input, and sums of what a notice points at */
#ifndef MESSAGES_H
#define MESSAGES_H
#include "actor.h"

enum { MESSAGE_MAX = 4000 };

typedef struct message_t {
    size_t len;
    uint8_t bytes[MESSAGE_MAX];
} message_t;

static inline void put_varint(message_t *m, uint64_t v)
{
    if (m->len + 10 > sizeof m->bytes) return;
    m->len = (size_t)(ensi_pb_put_varint(m->bytes + m->len, v) - m->bytes);
}

static inline void put_number(message_t *m, uint32_t tag, uint64_t v)
{
    put_varint(m, (uint64_t)tag << 3);
    put_varint(m, v);
}

static inline void put_bytes(message_t *m, uint32_t tag, ensign_slice_t s)
{
    if (m->len + s.len + 20 > sizeof m->bytes) return;
    put_varint(m, ((uint64_t)tag << 3) | 2);
    put_varint(m, s.len);
    if (s.len) memcpy(m->bytes + m->len, s.ptr, s.len);
    m->len += s.len;
}

static inline ensign_slice_t bytes_of(const message_t *m)
{
    ensign_slice_t s = { m->bytes, m->len };
    return s;
}

/* Fields as the input lists them: a tag and a kind in a byte each, then the value. */
static inline void put_listed(actor_t *a, message_t *m)
{
    for (uint8_t n = input_byte(a) % 8; n > 0; n--) {
        uint32_t tag = 1u + input_byte(a) % 20;
        uint8_t kind = input_byte(a);
        if (kind < 0x60)
            put_number(m, tag, input_16(a));
        else if (kind < 0xF0)
            put_bytes(m, tag, input_short(a));
        else if (m->len < sizeof m->bytes)
            m->bytes[m->len++] = kind; /* and that is no field */
    }
}

/* ------------------------------------------------------------------ sums: has it changed? */
static inline uint32_t sum_of(ensign_slice_t s)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < s.len; i++) sum = sum * 31 + s.ptr[i];
    return sum;
}

enum { EVENT_SLICES = 10 };

/* All of an event that lies in the receive buffer. */
static inline void slices_of_event(const ensign_event_t *e, ensign_slice_t out[EVENT_SLICES])
{
    const ensign_slice_t all[EVENT_SLICES] = {
        e->data,         e->type.name,           e->metadata,          e->key,
        e->encryption,   e->compression,         e->publisher_id,      e->publisher_client_id,
        e->publisher_address, e->publisher_agent
    };
    memcpy(out, all, sizeof all);
}

static inline uint32_t sum_of_event(const ensign_event_t *e)
{
    return sum_of(e->data) ^ sum_of(e->type.name) ^ sum_of(e->metadata) ^ sum_of(e->key) ^
           sum_of(e->encryption) ^ sum_of(e->compression) ^ sum_of(e->topic_name) ^ sum_of(e->publisher_id) ^
           sum_of(e->publisher_client_id) ^ sum_of(e->publisher_address) ^ sum_of(e->publisher_agent);
}

#endif
