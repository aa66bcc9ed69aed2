/* ensql_text.c - see ensql_text.h */
#include "ensql_text.h"
#include "../common/utf8.h"
#include <stdio.h>
#include <string.h>

ensign_slice_t slice_skip(ensign_slice_t s, size_t n)
{
    return slice_of(s.ptr + n, s.len - n);
}

bool is_space(uint32_t rune)
{
    return (rune >= 9 && rune <= 13) || rune == ' ' || rune == 0x85 || rune == 0xa0 || rune == 0x1680 ||
           (rune >= 0x2000 && rune <= 0x200a) || rune == 0x2028 || rune == 0x2029 || rune == 0x202f ||
           rune == 0x205f || rune == 0x3000;
}

bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

bool in_name(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == '-';
}

bool is_truth(ensign_slice_t name)
{
    static const char *const words[] = { "t", "T", "true",  "True",  "TRUE",
                                         "f", "F", "false", "False", "FALSE" };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (slice_is(name, words[i])) return true;
    return false;
}

/* Of characters, unlike the white space between tokens, which the service takes byte by byte. */
ensign_slice_t trim(ensign_slice_t s)
{
    uint32_t rune;
    size_t n, back;

    while ((n = utf8_char(s, &rune)) != 0 && is_space(rune)) s = slice_skip(s, n);
    for (;;) {
        for (back = 1; back < s.len && back < 4 && (s.ptr[s.len - back] & 0xc0) == 0x80;) back++;
        if (s.len == 0 || utf8_char(slice_skip(s, s.len - back), &rune) != back || !is_space(rune)) return s;
        s.len -= back;
    }
}

bool begins_with(ensign_slice_t s, const char *word)
{
    for (size_t i = 0; word[i]; i++) {
        uint8_t c = i < s.len ? s.ptr[i] : 0;
        if (c >= 'a' && c <= 'z') c = (uint8_t)(c - 'a' + 'A');
        if (c != (uint8_t)word[i]) return false;
    }
    return true;
}

/* What no terminal shows. The service escapes characters that Unicode has not assigned as well. */
static bool is_shown(uint32_t rune)
{
    static const uint32_t hidden[][2] = {
        { 0, 0x1f }, { 0x7f, 0xa0 }, { 0xad, 0xad }, { 0x600, 0x605 }, { 0x61c, 0x61c }, { 0x180e, 0x180e },
        { 0x200b, 0x200f }, { 0x202a, 0x202e }, { 0x2060, 0x206f }, { 0xd800, 0xf8ff }, { 0xfeff, 0xfeff },
        { 0xfff0, 0xfffb }, { 0xfffe, 0xffff }, { 0xe0000, 0x10ffff },
    };
    for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++)
        if (rune >= hidden[i][0] && rune <= hidden[i][1]) return false;
    return rune == ' ' || !is_space(rune);
}

/* The character at the front of `s` as Go's %q has it. Returns its length in `s`. */
static size_t quote_one(ensign_slice_t s, char out[16])
{
    static const char codes[] = "\a\b\t\n\v\f\r\"\\", letters[] = "abtnvfr\"\\";
    uint32_t rune = 0;
    size_t n = utf8_char(s, &rune);
    const char *code = n == 1 && rune ? strchr(codes, (int)rune) : NULL;

    if (code) snprintf(out, 16, "\\%c", letters[code - codes]);
    else if (n == 0) snprintf(out, 16, "\\x%02x", s.ptr[0]);
    else if (is_shown(rune)) snprintf(out, 16, "%.*s", (int)n, (const char *)s.ptr);
    else if (rune < 0x80) snprintf(out, 16, "\\x%02x", (unsigned)rune);
    else snprintf(out, 16, rune < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)rune);
    return n ? n : 1;
}

void quote(ensign_slice_t s, char out[NEAR_TEXT])
{
    size_t n = 0;
    char one[16];

    out[n++] = '"';
    while (s.len && n < NEAR_MAX) {
        s = slice_skip(s, quote_one(s, one));
        memcpy(out + n, one, strlen(one));
        n += strlen(one);
    }
    strcpy(out + n, s.len ? "...\"" : "\"");
}

bool read_digits(ensign_slice_t s, unsigned base, uint64_t most, uint64_t *out)
{
    uint64_t v = 0;

    if (s.len == 0 && base == 10) return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = s.ptr[i] - (unsigned)'0';
        if (!is_digit(s.ptr[i]) || digit >= base || v > (most - digit) / base) return false;
        v = base * v + digit;
    }
    *out = v;
    return true;
}

bool read_version(ensign_slice_t s, uint32_t *out)
{
    bool octal = s.len && s.ptr[0] == '0';
    uint64_t v = 0;

    if (!read_digits(octal ? slice_skip(s, 1) : s, octal ? 8 : 10, UINT32_MAX, &v)) return false;
    *out = (uint32_t)v;
    return true;
}

bool syntax_error(ensql_text_t *error, size_t at, ensign_slice_t near, const char *reason)
{
    char shown[NEAR_TEXT];

    quote(near, shown);
    snprintf(error->text, sizeof error->text, "syntax error at position %zu near %s: %s", at, shown, reason);
    return false;
}
