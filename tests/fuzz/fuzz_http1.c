/* fuzz_http1.c - any bytes as an answer of HTTP/1.1, also to CONNECT, and as the words of a page
 * Input  a byte that seeds the cuts, a byte that sets the limit of the body, then the answer
 * Wants  whole and in pieces: the same result, body and number of bytes taken; never past a limit; an ended
 *        reader stays as it is. */
#include <stdlib.h>
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"

#define WANT(x) do { if (!(x)) abort(); } while (0)

typedef struct { ensi_http1_t x; uint8_t *body; size_t used; int rc; } run_t;

static uint32_t next(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* seed 0: in one piece. The pieces are copies of just their size. */
static void run(run_t *r, const uint8_t *data, size_t size, size_t cap, uint32_t seed, bool connect)
{
    bool whole = seed == 0;
    size_t used;
    r->body = (uint8_t *)malloc(cap > 0 ? cap : 1);
    r->used = 0;
    r->rc = ENSIGN_AGAIN;
    WANT(r->body);
    ensi_http1_init(&r->x, r->body, cap);
    r->x.connect = connect;
    while (r->used < size && r->rc == ENSIGN_AGAIN) {
        size_t left = size - r->used, take = whole ? left : 1 + next(&seed) % 7;
        uint8_t *piece;
        if (take > left) take = left;
        piece = (uint8_t *)malloc(take);
        WANT(piece);
        memcpy(piece, data + r->used, take);
        r->rc = ensi_http1_eat(&r->x, piece, take, &used);
        free(piece);
        WANT(used <= take && (r->rc != ENSIGN_AGAIN || used == take));
        r->used += used;
    }
    if (r->rc == ENSIGN_AGAIN) r->rc = ensi_http1_end(&r->x);
    WANT(r->x.body_len <= cap && r->x.head_len <= ENSI_HTTP1_HEAD_MAX);
    WANT(r->rc == ENSIGN_OK || r->rc == ENSIGN_E_PROTOCOL || r->rc == ENSIGN_E_TOO_LARGE
         || r->rc == ENSIGN_E_CLOSED);
    WANT((r->rc == ENSIGN_OK) == (r->x.what == NULL));
    WANT(r->rc != ENSIGN_OK || r->x.status >= 200);
    WANT(ensi_http1_eat(&r->x, data, size, &used) == r->rc && used == 0 && ensi_http1_end(&r->x) == r->rc);
}

static void both(const uint8_t *data, size_t size, bool connect)
{
    size_t cap = data[1];
    run_t a, b;
    run(&a, data + 2, size - 2, cap, 0, connect);
    run(&b, data + 2, size - 2, cap, 1u + data[0], connect);
    WANT(!connect || a.rc != ENSIGN_OK || a.x.status >= 300 || a.x.body_len == 0);
    WANT(a.rc == b.rc && a.used == b.used && a.x.what == b.x.what);
    WANT(a.x.status == b.x.status && a.x.head_len == b.x.head_len);
    WANT(a.x.body_len == b.x.body_len && memcmp(a.body, b.body, a.x.body_len) == 0);
    free(a.body);
    free(b.body);
}

/* They fit, are plain text, and are their own words. */
static void words(const uint8_t *data, size_t size)
{
    size_t cap = 2 + (size_t)data[1];
    char *out = (char *)malloc(cap);
    WANT(out);
    ensi_http1_words(ensi_slice(data + 2, size - 2), out, cap);
    WANT(strlen(out) < cap);
    for (const char *p = out; *p; p++) WANT(*p >= ' ' && *p < 0x7F && *p != '<');
    WANT(out[0] != ' ' && !strstr(out, "  "));
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    both(data, size, false);
    both(data, size, true);
    words(data, size);
    return 0;
}
