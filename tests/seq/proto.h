/* proto.h - protobuf by hand, so that a mistake of ensign.h is not made twice
 *
 * ensign.h comes first: it must not need anything before it. With ENSIGN_LINKED, which the Makefile defines
 * for programs that use the public half alone, its implementation is linked; else it is here. */
#ifndef PROTO_H
#define PROTO_H

#if !defined ENSIGN_LINKED && !defined ENSIGN_IMPLEMENTATION
#define ENSIGN_IMPLEMENTATION
#endif
#include "../../ensign.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>

#include "../bytes.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define assert_slice(slice, p_, n_) do { ensign_slice_t sl_ = (slice); assert_int_equal(sl_.len, n_); \
                                         if (sl_.len) assert_memory_equal(sl_.ptr, p_, sl_.len); } while (0)
#define assert_text(slice, text_) do { const char *tx_ = (text_); assert_slice(slice, tx_, strlen(tx_)); \
                                       } while (0)

/* ------------------------------------------------------------------ protobuf, by hand */
static UNUSED void enc_varint(bytes_t *b, uint64_t v)
{
    uint8_t c;
    do {
        c = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        bytes_add(b, &c, 1);
        v >>= 7;
    } while (v);
}

static UNUSED void enc_uint(bytes_t *b, uint32_t tag, uint64_t v)
{
    enc_varint(b, (uint64_t)tag << 3);
    enc_varint(b, v);
}

static UNUSED void enc_bytes(bytes_t *b, uint32_t tag, const void *p, size_t n)
{
    enc_varint(b, ((uint64_t)tag << 3) | 2);
    enc_varint(b, n);
    bytes_add(b, p, n);
}

static UNUSED void enc_text(bytes_t *b, uint32_t tag, const char *s)
{
    enc_bytes(b, tag, s, strlen(s));
}

/* Puts the message `inner` in and frees it. */
static UNUSED void enc_message(bytes_t *b, uint32_t tag, bytes_t *inner)
{
    enc_bytes(b, tag, inner->p, inner->len);
    bytes_free(inner);
}

static UNUSED void enc_time(bytes_t *b, uint32_t tag, int64_t seconds, int32_t nanos)
{
    bytes_t t = {0};
    if (seconds) enc_uint(&t, 1, (uint64_t)seconds);
    if (nanos) enc_uint(&t, 2, (uint64_t)nanos);
    enc_message(b, tag, &t);
}

typedef struct dec_t {
    const uint8_t *p, *end;
    uint32_t tag;
    int wire;
    uint64_t value;
    ensign_slice_t bytes;
} dec_t;

static UNUSED dec_t dec_begin(ensign_slice_t m)
{
    dec_t d;
    memset(&d, 0, sizeof d);
    d.p = m.ptr;
    d.end = m.ptr + m.len;
    return d;
}

static UNUSED uint64_t dec_varint(dec_t *d)
{
    uint64_t v = 0;
    int shift = 0;
    for (;;) {
        if (d->p >= d->end || shift > 63) fail_msg("protobuf from the client: a varint that does not end");
        v |= (uint64_t)(*d->p & 0x7f) << shift;
        shift += 7;
        if (!(*d->p++ & 0x80)) return v;
    }
}

static UNUSED bool dec_next(dec_t *d)
{
    uint64_t key;
    if (d->p >= d->end) return false;
    key = dec_varint(d);
    d->tag = (uint32_t)(key >> 3);
    d->wire = (int)(key & 7);
    d->value = dec_varint(d);
    d->bytes.ptr = NULL;
    d->bytes.len = 0;
    if (d->wire == 0) return true;
    if (d->wire != 2) fail_msg("protobuf from the client: wire type %d", d->wire);
    if (d->value > (uint64_t)(d->end - d->p))
        fail_msg("protobuf from the client: a field beyond its message");
    d->bytes = slice_of(d->p, (size_t)d->value);
    d->p += d->value;
    return true;
}

/* The last field `tag`; false: absent. */
static UNUSED bool dec_field(ensign_slice_t m, uint32_t tag, ensign_slice_t *out)
{
    dec_t d = dec_begin(m);
    bool found = false;
    while (dec_next(&d)) {
        if (d.tag != tag) continue;
        assert_int_equal(d.wire, 2);
        *out = d.bytes;
        found = true;
    }
    return found;
}

static UNUSED uint64_t dec_uint(ensign_slice_t m, uint32_t tag)
{
    dec_t d = dec_begin(m);
    uint64_t v = 0;
    while (dec_next(&d)) {
        if (d.tag == tag && d.wire == 0) v = d.value;
    }
    return v;
}

#endif
