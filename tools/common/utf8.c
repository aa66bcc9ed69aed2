/* utf8.c - see utf8.h */
#include "utf8.h"

/* By its first byte; 0: it begins no character. */
static size_t size_of(uint8_t first)
{
    if (first < 0x80) return 1;
    if (first < 0xC2 || first > 0xF4) return 0;
    return first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

size_t utf8_char(ensign_slice_t s, uint32_t *out)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t n = s.len ? size_of(s.ptr[0]) : 0;
    uint32_t c;

    if (n == 0 || n > s.len) return 0;
    c = n == 1 ? s.ptr[0] : s.ptr[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s.ptr[i] & 0xC0) != 0x80) return 0;
        c = c << 6 | (s.ptr[i] & 0x3Fu);
    }
    if (c < least[n] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) return 0; /* overlong; no character */
    *out = c;
    return n;
}

bool utf8_valid(ensign_slice_t s)
{
    uint32_t c;

    for (size_t n; s.len > 0; s.ptr += n, s.len -= n)
        if ((n = utf8_char(s, &c)) == 0) return false;
    return true;
}
