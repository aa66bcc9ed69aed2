/* util.c - see util.h */
#include "util.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool verbose;    /* set once, before anything runs */

ensign_slice_t slice_of(const void *p, size_t n)
{
    ensign_slice_t s = { p, n };
    return s;
}

ensign_slice_t slice_text(const char *text)
{
    return slice_of(text, text ? strlen(text) : 0);
}

bool slice_eq(ensign_slice_t a, ensign_slice_t b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool slice_is(ensign_slice_t a, const char *text)
{
    return slice_eq(a, slice_text(text));
}

int slice_order(ensign_slice_t a, ensign_slice_t b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

int slice_compare(const void *a, const void *b)
{
    return slice_order(*(const ensign_slice_t *)a, *(const ensign_slice_t *)b);
}

char *slice_dup(ensign_slice_t a)
{
    char *s = x_alloc(a.len + 1);
    if (a.len) memcpy(s, a.ptr, a.len);
    return s;
}

static void out_of_memory(size_t n)
{
    fprintf(stderr, "ensignd: out of memory: %zu bytes are not to be had; give the process more\n", n);
    exit(1);
}

void *x_alloc(size_t n)
{
    void *p = calloc(1, n ? n : 1);
    if (!p) out_of_memory(n);
    return p;
}

void *x_realloc(void *p, size_t n)
{
    void *q = realloc(p, n ? n : 1);
    if (!q) out_of_memory(n);
    return q;
}

char *x_strdup(const char *s)
{
    return slice_dup(slice_text(s));
}

size_t buf_len(const buf_t *b)
{
    return b->end - b->start;
}

ensign_slice_t buf_bytes(const buf_t *b)
{
    return slice_of(b->ptr ? b->ptr + b->start : NULL, buf_len(b));
}

uint8_t *buf_room(buf_t *b, size_t n)
{
    size_t len = buf_len(b);
    size_t cap = b->cap ? b->cap : 1024;

    if (n == 0) n = 1;          /* a place even for nothing: NULL plus 0 is undefined */
    if (b->cap - b->end >= n) return b->ptr + b->end;
    /* Moving pays only when much is free at the front; else a steady small backlog would be moved at each
       put. */
    if (b->start >= b->cap / 2 && b->cap - len >= n) {
        memmove(b->ptr, b->ptr + b->start, len);
    } else {
        uint8_t *p;
        while (cap - len < n || len > cap / 2) cap *= 2;
        p = x_alloc(cap);
        if (len) memcpy(p, b->ptr + b->start, len);
        free(b->ptr);
        b->ptr = p;
        b->cap = cap;
    }
    b->start = 0;
    b->end = len;
    return b->ptr + b->end;
}

void buf_put(buf_t *b, const void *p, size_t n)
{
    if (n == 0) return;
    memcpy(buf_room(b, n), p, n);
    b->end += n;
}

void buf_take(buf_t *b, size_t n)
{
    b->start += n;
    if (b->start == b->end) b->start = b->end = 0;
}

void buf_free(buf_t *b)
{
    free(b->ptr);
    memset(b, 0, sizeof *b);
}

int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void wall_now(int64_t *seconds, int32_t *nanos)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    *seconds = (int64_t)t.tv_sec;
    *nanos = (int32_t)t.tv_nsec;
}

int64_t wall_ms(void)
{
    int64_t s;
    int32_t ns;
    wall_now(&s, &ns);
    return s * 1000 + ns / 1000000;
}

bool utc_text(int64_t seconds, int32_t nanos, char out[UTC_TEXT])
{
    time_t t = (time_t)seconds;
    struct tm utc;
    size_t n;

    if ((int64_t)t != seconds || !gmtime_r(&t, &utc)) return false;
    n = strftime(out, UTC_TEXT, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + n, UTC_TEXT - n, ".%09dZ", (int)nanos);
    return true;
}

bool fail(why_t *why, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why->text, sizeof why->text, format, args);
    va_end(args);
    return false;
}

void log_verbose(bool on)
{
    verbose = on;
}

void log_line(const char *format, ...)
{
    va_list args;
    int64_t s;
    int32_t ns;
    time_t t;
    struct tm utc;
    char stamp[16];

    if (!verbose) return;
    wall_now(&s, &ns);
    t = (time_t)s;
    gmtime_r(&t, &utc);
    strftime(stamp, sizeof stamp, "%H:%M:%S", &utc);
    fprintf(stderr, "ensignd: %s.%03d ", stamp, (int)(ns / 1000000));
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}
