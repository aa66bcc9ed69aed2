/* gzip.h - gzip by zlib alone, for the tests of what ensign.h makes of it; bytes.h comes first */
#ifndef GZIP_H
#define GZIP_H

#include <zlib.h>

#define GZIP_OR_ABORT(x) do { if (!(x)) abort(); } while (0)

/* Appends one member with these bytes in it. */
static UNUSED void gzip_add(bytes_t *b, const void *p, size_t n)
{
    z_stream z;
    uint8_t out[4096];
    int rc;
    memset(&z, 0, sizeof z);
    GZIP_OR_ABORT(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) == Z_OK);
    z.next_in = (Bytef *)(uintptr_t)p;
    z.avail_in = (uInt)n;
    do {
        z.next_out = out;
        z.avail_out = sizeof out;
        rc = deflate(&z, Z_FINISH);
        bytes_add(b, out, sizeof out - z.avail_out);
    } while (rc == Z_OK || rc == Z_BUF_ERROR);
    GZIP_OR_ABORT(rc == Z_STREAM_END);
    deflateEnd(&z);
}

/* Appends what a message of members has in it, up to `most` bytes. False: it has more, or is not whole. */
static UNUSED bool gzip_read(bytes_t *b, const void *p, size_t n, size_t most)
{
    z_stream z;
    uint8_t out[4096];
    size_t before = b->len;
    int rc = Z_OK;
    memset(&z, 0, sizeof z);
    GZIP_OR_ABORT(inflateInit2(&z, 15 + 16) == Z_OK);
    z.next_in = (Bytef *)(uintptr_t)p;
    z.avail_in = (uInt)n;
    while (rc == Z_OK && b->len - before <= most) {
        z.next_out = out;
        z.avail_out = sizeof out;
        rc = inflate(&z, Z_NO_FLUSH);
        bytes_add(b, out, sizeof out - z.avail_out);
        if (rc == Z_STREAM_END && z.avail_in > 0) rc = inflateReset(&z);
    }
    inflateEnd(&z);
    return rc == Z_STREAM_END && b->len - before <= most;
}

#endif
