/* fuzz_gzip.c - any bytes as a compressed message, and as one to compress
 * Input   a byte for the limit, a byte for the first block, the message
 * Wants   a message that zlib reads whole within the limit is read and gives the same, and no other one; no
 *         block is larger than the limit allows; what is compressed is smaller and reads back; all memory is
 *         given back. */
#define ENSIGN_GZIP
#include <stdlib.h>
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#include "../bytes.h"
#include "../gzip.h"

#define WANT(x) do { if (!(x)) abort(); } while (0)

static void check_read(ensi_gzip_t *g, ensi_mem_t *m, ensign_slice_t message, size_t first, size_t limit)
{
    ensi_buf_t plain;
    bytes_t want = { NULL, 0, 0 };
    const char *why = NULL;
    memset(&plain, 0, sizeof plain);
    for (int i = 0; i < 2; i++) { /* the second time in the block that is there */
        int rc = ensi_gzip_decompress(g, m, message, &plain, first, limit, &why);
        want.len = 0;
        WANT((rc == ENSIGN_OK) == gzip_read(&want, message.ptr, message.len, limit));
        WANT(rc == ENSIGN_OK || rc == ENSIGN_E_TOO_LARGE || (rc == ENSIGN_E_FORMAT && why));
        WANT(plain.cap <= limit + 1);
        if (rc == ENSIGN_OK) WANT(plain.end == want.len);
        if (rc == ENSIGN_OK && want.len > 0) WANT(memcmp(plain.ptr, want.p, want.len) == 0);
    }
    ensi_mem_free(m, plain.ptr);
    bytes_free(&want);
}

static void check_compress(ensi_gzip_t *g, ensi_mem_t *m, ensign_slice_t message, size_t first)
{
    uint8_t *out = (uint8_t *)malloc(message.len + 1);
    ensi_buf_t plain;
    const char *why;
    size_t len;
    WANT(out && ensi_gzip_open(g, m));
    memset(&plain, 0, sizeof plain);
    out[message.len] = 0xEE;
    len = ensi_gzip_compress(g, message, out);
    WANT(out[message.len] == 0xEE && (len == 0 || len < message.len));
    if (len > 0) {
        WANT(ensi_gzip_decompress(g, m, ensi_slice(out, len), &plain, first, message.len, &why) == ENSIGN_OK);
        WANT(plain.end == message.len && memcmp(plain.ptr, message.ptr, message.len) == 0);
    }
    ensi_mem_free(m, plain.ptr);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ensi_gzip_t g;
    ensi_mem_t m;
    size_t limit, first;
    ensign_slice_t message;
    if (size < 2) return 0;
    limit = (size_t)1 << data[0] % 21;
    first = (size_t)1 << data[1] % 17;
    message = ensi_slice(data + 2, size - 2);
    memset(&g, 0, sizeof g);
    memset(&m, 0, sizeof m);
    m.alloc = ensi_mem_default;
    check_read(&g, &m, message, first, limit);
    check_compress(&g, &m, message, first);
    ensi_gzip_close(&g);
    ensi_mem_close(&m);
    WANT(m.used == 0);
    return 0;
}
