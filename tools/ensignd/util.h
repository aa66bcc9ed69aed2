/* util.h - what every file of ensignd needs: bytes, a growing buffer, clocks, errors, log lines
 *
 * Memory that cannot be had ends the process with a message: this is a development server, and a half-alive
 * one would only hide the reason. Everything that a peer can make grow has a bound in the file that lets it
 * grow. */
#ifndef ENSIGND_UTIL_H
#define ENSIGND_UTIL_H
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "../../ensign.h"

/* A slice is not NUL-terminated, and not owned. */
ensign_slice_t slice_of(const void *p, size_t n);
ensign_slice_t slice_text(const char *text);          /* NULL: empty */
bool  slice_eq(ensign_slice_t a, ensign_slice_t b);
bool  slice_is(ensign_slice_t a, const char *text);
int   slice_order(ensign_slice_t a, ensign_slice_t b);  /* byte by byte, as memcmp; the front comes first */
int   slice_compare(const void *a, const void *b);      /* of two ensign_slice_t, for qsort and bsearch */
char *slice_dup(ensign_slice_t a);                      /* as a C string; free() it */

void *x_alloc(size_t n);                                /* zeroed; never NULL */
void *x_realloc(void *p, size_t n);                     /* never NULL */
char *x_strdup(const char *s);

/* Bytes wait in [start, end); [end, cap) is room. */
typedef struct buf_t { uint8_t *ptr; size_t cap, start, end; } buf_t;

size_t   buf_len(const buf_t *b);
ensign_slice_t buf_bytes(const buf_t *b);
uint8_t *buf_room(buf_t *b, size_t n);                  /* at least n bytes at the end; may move what waits */
void     buf_put(buf_t *b, const void *p, size_t n);
void     buf_take(buf_t *b, size_t n);                  /* from the front */
void     buf_free(buf_t *b);

int64_t now_ms(void);                                   /* monotonic */
void    wall_now(int64_t *seconds, int32_t *nanos);
int64_t wall_ms(void);
#define UTC_TEXT 64
/* "2026-11-24T11:35:09.124518619Z". Returns false for a time that the system's calendar does not reach. */
bool    utc_text(int64_t seconds, int32_t nanos, char out[UTC_TEXT]);

/* What went wrong, told to the person who started the server: the value seen, the value allowed, what to
   change. */
typedef struct why_t { char text[400]; } why_t;
bool fail(why_t *why, const char *format, ...);         /* fills *why, returns false */

void log_verbose(bool on);
void log_line(const char *format, ...);                 /* to stderr, with the time; only when verbose */
#endif
