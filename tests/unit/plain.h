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

static UNUSED void from_hex(const char *hex, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char pair[3] = { hex[2 * i], hex[2 * i + 1], '\0' };
        out[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
}

#endif
