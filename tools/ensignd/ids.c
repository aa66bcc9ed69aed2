/* ids.c - see ids.h */
#include "ids.h"
#include <mbedtls/md.h>
#include <stdio.h>
#include <string.h>

static const char crockford[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

bool random_bytes(void *out, size_t n)
{
    FILE *f = fopen("/dev/urandom", "rb");
    size_t got = f ? fread(out, 1, n, f) : 0;
    if (f) fclose(f);
    return got == n;
}

/* The same millisecond counts the random part up, so that ids made in a burst keep their order. */
ulid_t ulid_new(void)
{
    static ulid_t last;
    ulid_t id;
    int64_t ms = wall_ms();

    random_bytes(id.b, sizeof id.b);
    for (int i = 5; i >= 0; i--, ms >>= 8) id.b[i] = (uint8_t)(ms & 0xff);
    if (memcmp(id.b, last.b, 6) <= 0) {
        id = last;
        for (int i = 15; i >= 0; i--)
            if (++id.b[i] != 0) break;
    }
    last = id;
    return id;
}

/* Both ids are big numbers in base 32, most significant digit first; a ULID's first digit has 3 bits. */
static void base32(const uint8_t *in, size_t bits, char *out, size_t digits)
{
    for (size_t d = 0; d < digits; d++) {
        size_t low = (digits - 1 - d) * 5;      /* the digit's lowest bit, counted from the number's end */
        unsigned v = 0;
        for (size_t k = 0; k < 5; k++) {
            size_t bit = low + k;
            if (bit < bits) v |= ((unsigned)in[(bits - 1 - bit) / 8] >> (bit % 8) & 1u) << k;
        }
        out[d] = crockford[v];
    }
    out[digits] = '\0';
}

void ulid_text(const ulid_t *id, char out[ULID_TEXT + 1])
{
    base32(id->b, 128, out, ULID_TEXT);
}

void rlid_text(const rlid_t *id, char out[RLID_TEXT + 1])
{
    base32(id->b, 80, out, RLID_TEXT);
    for (size_t i = 0; i < RLID_TEXT; i++)
        if (out[i] >= 'A') out[i] = (char)(out[i] + ('a' - 'A'));
}

bool ulid_parse(ensign_slice_t text, ulid_t *out)
{
    ulid_t id = { { 0 } };

    if (text.len != ULID_TEXT || text.ptr[0] > '7') return false;
    for (size_t d = 0; d < ULID_TEXT; d++) {
        char c = (char)text.ptr[d];
        const char *at = strchr(crockford, c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
        unsigned v = at && *at ? (unsigned)(at - crockford) : 0; /* others are not detected by the service */
        size_t low = (ULID_TEXT - 1 - d) * 5;
        for (size_t k = 0; k < 5 && low + k < 128; k++)
            if (v >> k & 1u) id.b[(127 - low - k) / 8] |= (uint8_t)(1u << ((low + k) % 8));
    }
    *out = id;
    return true;
}

bool ulid_from(ensign_slice_t raw, ulid_t *out)
{
    if (raw.len != sizeof out->b) return false;
    memcpy(out->b, raw.ptr, sizeof out->b);
    return true;
}

bool ulid_eq(const ulid_t *a, const ulid_t *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}

bool ulid_is_zero(const ulid_t *a)
{
    static const ulid_t zero;
    return ulid_eq(a, &zero);
}

rlid_t rlid_make(int64_t ms, uint32_t sequence)
{
    rlid_t id;
    for (int i = 5; i >= 0; i--, ms >>= 8) id.b[i] = (uint8_t)(ms & 0xff);
    for (int i = 9; i >= 6; i--, sequence >>= 8) id.b[i] = (uint8_t)(sequence & 0xff);
    return id;
}

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void sha256(ensign_slice_t bytes, uint8_t out[32])
{
    mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), bytes.ptr, bytes.len, out);
}

size_t base64url(ensign_slice_t in, char *out)
{
    size_t n = 0, i;

    for (i = 0; i < in.len; i += 3) {
        size_t left = in.len - i;
        uint32_t v = (uint32_t)in.ptr[i] << 16;
        if (left > 1) v |= (uint32_t)in.ptr[i + 1] << 8;
        if (left > 2) v |= in.ptr[i + 2];
        out[n++] = base64_digits[v >> 18 & 63];
        out[n++] = base64_digits[v >> 12 & 63];
        if (left > 1) out[n++] = base64_digits[v >> 6 & 63];
        if (left > 2) out[n++] = base64_digits[v & 63];
    }
    out[n] = '\0';
    return n;
}

bool base64url_parse(ensign_slice_t in, uint8_t *out, size_t cap, size_t *len)
{
    uint32_t v = 0;
    unsigned bits = 0;
    size_t n = 0;

    for (size_t i = 0; i < in.len; i++) {
        const char *at = in.ptr[i] ? strchr(base64_digits, in.ptr[i]) : NULL;
        if (!at) return false;
        v = (v << 6 | (uint32_t)(at - base64_digits)) & 0xffffffu;
        bits += 6;
        if (bits >= 8) {
            if (n == cap) return false;
            bits -= 8;
            out[n++] = (uint8_t)(v >> bits & 0xff);
        }
    }
    *len = n;
    return in.len % 4 != 1;
}

static uint64_t rotl(uint64_t x, unsigned r)
{
    return x << r | x >> (64 - r);
}

static uint64_t le64(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static uint64_t mix_end(uint64_t k)
{
    k = (k ^ k >> 33) * 0xff51afd7ed558ccdu;
    k = (k ^ k >> 33) * 0xc4ceb9fe1a85ec53u;
    return k ^ k >> 33;
}

static uint64_t mix_1(uint64_t k)
{
    return rotl(k * 0x87c37b91114253d5u, 31) * 0x4cf5ad432745937fu;
}

static uint64_t mix_2(uint64_t k)
{
    return rotl(k * 0x4cf5ad432745937fu, 33) * 0x87c37b91114253d5u;
}

name_hash_t name_hash(ensign_slice_t name)
{
    uint64_t h1 = 0, h2 = 0;
    size_t i = 0, tail = name.len % 16;
    name_hash_t out;

    for (; i + 16 <= name.len; i += 16) {
        h1 = (rotl(h1 ^ mix_1(le64(name.ptr + i, 8)), 27) + h2) * 5 + 0x52dce729;
        h2 = (rotl(h2 ^ mix_2(le64(name.ptr + i + 8, 8)), 31) + h1) * 5 + 0x38495ab5;
    }
    if (tail > 8) h2 ^= mix_2(le64(name.ptr + i + 8, tail - 8));
    if (tail > 0) h1 ^= mix_1(le64(name.ptr + i, tail > 8 ? 8 : tail));
    h1 ^= name.len;
    h2 ^= name.len;
    h1 += h2;
    h2 += h1;
    h1 = mix_end(h1);
    h2 = mix_end(h2);
    h1 += h2;
    h2 += h1;
    for (int b = 0; b < 8; b++) {
        out.b[b] = (uint8_t)(h1 >> (56 - 8 * b) & 0xff);
        out.b[8 + b] = (uint8_t)(h2 >> (56 - 8 * b) & 0xff);
    }
    return out;
}
