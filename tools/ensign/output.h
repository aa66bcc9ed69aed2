/* output.h - what goes to standard output, and what is said on standard error
 *
 * Standard output is for data: events, answers, JSON. It is buffered here, so that a reader who has gone away
 * is noticed, and is written before each wait. Standard error is for people: notes, errors, progress. What
 * came from an event or a server goes to either with control characters escaped, but for `--raw` into a file
 * or a pipe. */
#ifndef ENSIGN_CLI_OUTPUT_H
#define ENSIGN_CLI_OUTPUT_H
#include "text.h"
#include <stdarg.h>

typedef enum { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER } color_t;

void output_setup(color_t color, bool quiet);

/* ---- standard output */

void out_bytes(const void *p, size_t len);
void out_slice(ensign_slice_t s);
void out_text(const char *text);
void out_format(const char *format, ...);
void out_safe(ensign_slice_t s, bool lines);            /* escaped; lines: tab and newline stay */
void out_raw(ensign_slice_t s);                         /* as it is; escaped on a terminal */
void out_base64(ensign_slice_t s);
void out_hex(ensign_slice_t s);
void out_flush(void);

int  out_failed(void);                                  /* 0, or errno: EPIPE once nobody reads */
void out_note_closed(void);                             /* poll has told that nobody reads */
bool out_is_pipe(void);
bool out_is_terminal(void);

/* The escape sequence for a colour ("1;31"), or "" where there are no colours. */
const char *out_color(const char *sgr);

/* ---- JSON on standard output: one value a line. key is NULL inside of a list. */

void json_object(const char *key);
void json_list(const char *key);
void json_close(void);                                  /* of either; of the last one with a newline */
void json_slice(const char *key, ensign_slice_t s);     /* what is no UTF-8 becomes U+FFFD */
void json_member(ensign_slice_t key, ensign_slice_t value);     /* the same, with any key */
void json_text(const char *key, const char *text);      /* NULL: null */
void json_uint(const char *key, uint64_t n);
void json_int(const char *key, int64_t n);
void json_number(const char *key, double n);
void json_bool(const char *key, bool b);
void json_null(const char *key);
void json_value(const char *key, ensign_slice_t value); /* a JSON value, as it is; made safe for a terminal */
void json_time(const char *key, ensign_time_t t);       /* absent: null */
void json_base64(const char *key, ensign_slice_t s);
void json_data(const char *key, ensign_slice_t s);      /* and KEY_encoding: "text" or "base64" */

/* ---- standard error */

void say(const char *format, ...);                      /* a note; --quiet leaves it out */
void complain(const char *format, ...);                 /* an error; escaped, like a note */
void progress(const char *format, ...);                 /* a line that the next one replaces; "": none */
bool err_is_terminal(void);
#endif
