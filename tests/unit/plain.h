/* plain.h - what the tests of ensign.h's parts share: a client's plain desc, bytes from hex */
#ifndef PLAIN_H
#define PLAIN_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#if defined(__GNUC__)
#define UNUSED __attribute__((unused))
#else
#define UNUSED
#endif

static UNUSED ensign_desc_t plain_desc(void)
{
    ensign_desc_t d;
    memset(&d, 0, sizeof d);
    d.endpoint = "127.0.0.1:5356";
    d.tls.off = true;
    d.io = ENSIGN_IO_CALLER;
    d.seed = 7;
    return d;
}

/* Every pair of a state and an input: what `to` has is moved, and -1 leaves the state alone. */
#define CHECK_MOVES(object_t, state_t, in_t, move, to)                                                       \
    do {                                                                                                     \
        for (size_t from_ = 0; from_ < COUNT(to); from_++) {                                                 \
            for (size_t in_ = 0; in_ < COUNT(to[0]); in_++) {                                                \
                object_t x_;                                                                                 \
                bool may_ = to[from_][in_] >= 0;                                                             \
                memset(&x_, 0, sizeof x_);                                                                   \
                x_.state = (state_t)from_;                                                                   \
                if (move(&x_, (in_t)in_) != may_ || (int)x_.state != (may_ ? to[from_][in_] : (int)from_))   \
                    fail_msg("from %zu by %zu: to %d", from_, in_, (int)x_.state);                           \
            }                                                                                                \
        }                                                                                                    \
    } while (0)

static UNUSED void from_hex(const char *hex, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char pair[3] = { hex[2 * i], hex[2 * i + 1], '\0' };
        out[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
}

#endif
