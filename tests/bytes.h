/* bytes.h - growing byte strings, and slices of them; ensign.h comes first */
#ifndef BYTES_H
#define BYTES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define UNUSED __attribute__((unused))

typedef struct bytes_t { uint8_t *p; size_t len, cap; } bytes_t;

static UNUSED void bytes_add(bytes_t *b, const void *p, size_t n)
{
    if (b->len + n > b->cap) {
        b->cap = (b->len + n) * 2 + 64;
        b->p = (uint8_t *)realloc(b->p, b->cap);
        if (!b->p) abort();
    }
    if (n) memcpy(b->p + b->len, p, n);
    b->len += n;
}

static UNUSED void bytes_drop(bytes_t *b, size_t n)
{
    if (n) memmove(b->p, b->p + n, b->len - n);
    b->len -= n;
}

static UNUSED void bytes_free(bytes_t *b)
{
    free(b->p);
    memset(b, 0, sizeof *b);
}

/* A number of 8 bytes, the highest first. */
static UNUSED void be64_put(uint8_t *p, uint64_t number)
{
    int i;
    for (i = 7; i >= 0; i--, number >>= 8) p[i] = (uint8_t)(number & 0xff);
}

static UNUSED uint64_t be64_get(const uint8_t *p)
{
    uint64_t number = 0;
    int i;
    for (i = 0; i < 8; i++) number = number << 8 | p[i];
    return number;
}

static UNUSED ensign_slice_t slice_of(const void *p, size_t n)
{
    ensign_slice_t s;
    s.ptr = (const uint8_t *)p;
    s.len = n;
    return s;
}

static UNUSED ensign_slice_t text_slice(const char *s)
{
    return slice_of(s, strlen(s));
}

static UNUSED ensign_slice_t bytes_slice(const bytes_t *b)
{
    return slice_of(b->p, b->len);
}

#endif
