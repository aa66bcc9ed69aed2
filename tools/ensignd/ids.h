/* ids.h - ULID and RLID, base64url, the name hash of the service, random bytes */
#ifndef ENSIGND_IDS_H
#define ENSIGND_IDS_H
#include "util.h"

typedef struct ulid_t { uint8_t b[16]; } ulid_t;
typedef struct rlid_t { uint8_t b[10]; } rlid_t;
typedef struct name_hash_t { uint8_t b[16]; } name_hash_t;

#define ULID_TEXT 26                                    /* characters, without the NUL */
#define RLID_TEXT 16
#define HASH_TEXT 22

bool   random_bytes(void *out, size_t n);               /* of the operating system */
ulid_t ulid_new(void);                                  /* never goes back: each is above the one before */
void   ulid_text(const ulid_t *id, char out[ULID_TEXT + 1]);
/* Lenient, as the service is: it looks at the length and the first character. */
bool   ulid_parse(ensign_slice_t text, ulid_t *out);
bool   ulid_from(ensign_slice_t raw, ulid_t *out);      /* exactly 16 bytes */
bool   ulid_eq(const ulid_t *a, const ulid_t *b);
bool   ulid_is_zero(const ulid_t *a);

rlid_t rlid_make(int64_t ms, uint32_t sequence);
void   rlid_text(const rlid_t *id, char out[RLID_TEXT + 1]);

size_t base64url(ensign_slice_t in, char *out); /* unpadded and NUL-terminated; out holds 4/3 of in, and 3 */
bool   base64url_parse(ensign_slice_t in, uint8_t *out, size_t cap, size_t *len);

void   sha256(ensign_slice_t bytes, uint8_t out[32]);
name_hash_t name_hash(ensign_slice_t name); /* MurmurHash3 x64-128, seed 0, h1 and h2 big-endian */
#endif
