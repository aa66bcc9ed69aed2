/* text.h - JSON, hexadecimal, numbers, times: between bytes and what people write */
#ifndef ENSIGN_CLI_TEXT_H
#define ENSIGN_CLI_TEXT_H
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#include "../common/utf8.h"

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

void *x_realloc(void *p, size_t n);                     /* never NULL: without memory the program ends */
void *x_keep(void *p);                                  /* p, which x_keep_end will free */
char *x_keep_text(const char *text, size_t len);        /* a copy of its first len bytes, and a NUL: kept */
void  x_keep_end(void);

bool   text_is_json(ensign_slice_t s);  /* lib.c: one JSON value, as RFC 8259 has it, and blanks */
/* Does it begin with one? *end: how long that is, with the blanks around it; false: where it stops being
 * JSON. */
bool   text_json(ensign_slice_t s, size_t *end);

/* The members of a JSON object, one after another; start with the object as `rest`. text_member gives them as
 * they are written there: the key without its quotes, the value whole. 1: a member; 0: there is no other, and
 * nothing but blanks follows; -1: it is malformed, or no object. */
typedef struct members_t { ensign_slice_t rest; bool begun; } members_t;
int    text_member(members_t *m, ensign_slice_t *key, ensign_slice_t *value);
/* Of what stands between the quotes of a string that was read so: */
bool   text_quoted_is(ensign_slice_t inside, const char *text);
size_t text_unquote(ensign_slice_t inside, uint8_t *out);       /* out: room for as many bytes; its length */
/* In place: `out` may be where the text lies. False: it is no base64. */
bool   text_from_base64(ensign_slice_t text, uint8_t *out, size_t *len);

/* One pair of an event's metadata, as the library takes it; returns where it ends. It takes up to
 * PAIR_BYTES more than key and value have. */
#define PAIR_BYTES 32
uint8_t *text_put_pair(uint8_t *p, ensign_slice_t key, ensign_slice_t value);

/* As memcmp; of two that begin alike the shorter one is first. */
int    text_order(ensign_slice_t a, ensign_slice_t b);

/* Must this character not reach a terminal? Controls, and what changes the direction of writing: both can
 * make a line show what it does not say. */
bool   text_unsafe(uint32_t c);

/* Two digits a byte, blanks between them; *out is the caller's to free. False: it is something else, and *out
 * is NULL. */
bool   text_from_hex(const char *hex, uint8_t **out, size_t *len);

char  *text_base64(ensign_slice_t s);   /* padded; the caller's to free */

int    text_hex_digit(char c);          /* its value; -1: it is not such a digit */
bool   text_to_u64(const char *text, uint64_t *out);
bool   text_to_double(const char *text, double *out);
/* "2", "0.5", "300ms", "2s", "5m", "1h" */
bool   text_to_ms(const char *text, uint64_t *out);

/* "2026-03-09T10:11:12.5Z", with as many digits as it takes; "" for an absent time */
#define TIME_TEXT 40
const char *text_time(ensign_time_t t, char out[TIME_TEXT]);
/* A time of RFC 3339, after 1970 began: "2026-03-09T10:11:12.5Z", "2026-03-09 11:11:12+01:00". False: it is
 * none. */
bool   text_to_time(const char *text, ensign_time_t *out);
/* "1,234,567" */
#define NUMBER_TEXT 32
const char *text_number(uint64_t n, char out[NUMBER_TEXT]);
/* "3 d 4 h", "12.5 s" */
const char *text_duration(double seconds, char out[NUMBER_TEXT]);
/* "1.5 MB" */
const char *text_size(double bytes, char out[NUMBER_TEXT]);
#endif
