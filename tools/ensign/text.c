/* text.c - see text.h */
#include "text.h"
#include <ctype.h>
#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void *x_realloc(void *p, size_t n)
{
    void *q = realloc(p, n ? n : 1);
    if (q) return q;
    fprintf(stderr, "ensign: no memory for %zu bytes\n", n);
    exit(1);
}

/* What the options became: it lives as long as the program. */
static struct { void **at; size_t count; } kept;

void *x_keep(void *p)
{
    kept.at = x_realloc(kept.at, (kept.count + 1) * sizeof *kept.at);
    return kept.at[kept.count++] = p;
}

char *x_keep_text(const char *text, size_t len)
{
    char *copy = x_keep(x_realloc(NULL, len + 1));

    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

void x_keep_end(void)
{
    for (size_t i = 0; i < kept.count; i++) free(kept.at[i]);
    free(kept.at);
    kept.at = NULL;
    kept.count = 0;
}

/* ---- UTF-8 */

size_t text_char(const uint8_t *p, size_t len, uint32_t *out)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xC0 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF8 ? 4 : 0;
    uint32_t c;

    if (n == 0 || n > len) return 0;
    c = n == 1 ? p[0] : p[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80) return 0;
        c = c << 6 | (p[i] & 0x3Fu);
    }
    if (c < least[n] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) return 0;
    *out = c;
    return n;
}

bool text_is_utf8(ensign_slice_t s)
{
    uint32_t c;

    for (size_t at = 0, n; at < s.len; at += n) {
        if (s.ptr[at] < 0x80) n = 1;
        else if ((n = text_char(s.ptr + at, s.len - at, &c)) == 0) return false;
    }
    return true;
}

bool text_unsafe(uint32_t c)
{
    if (c < 0x20 || (c >= 0x7F && c < 0xA0)) return true;
    return c == 0x061C || c == 0x200E || c == 0x200F || c == 0x2028 || c == 0x2029 ||
           (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

/* ---- JSON: is it that? A value is read at a time; what is open is kept as a row of brackets. */

#define JSON_DEPTH 512

typedef struct json_reader_t { const char *p, *end; } json_reader_t;

static void json_blanks(json_reader_t *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r')) r->p++;
}

static bool json_eat(json_reader_t *r, char c)
{
    json_blanks(r);
    if (r->p == r->end || *r->p != c) return false;
    r->p++;
    return true;
}

static bool json_escape(json_reader_t *r)
{
    if (r->p == r->end) return false;
    if (*r->p != 'u') return strchr("\"\\/bfnrt", *r->p++) != NULL && r->p[-1] != '\0';
    r->p++;
    for (int i = 0; i < 4; i++, r->p++)
        if (r->p == r->end || !isxdigit((unsigned char)*r->p)) return false;
    return true;
}

static bool json_read_string(json_reader_t *r)
{
    if (!json_eat(r, '"')) return false;
    while (r->p < r->end) {
        char c = *r->p++;
        if (c == '"') return true;
        if ((unsigned char)c < 0x20 || (c == '\\' && !json_escape(r))) return false;
    }
    return false;
}

static bool json_digits(json_reader_t *r)
{
    const char *from = r->p;
    while (r->p < r->end && isdigit((unsigned char)*r->p)) r->p++;
    return r->p > from;
}

static bool json_read_number(json_reader_t *r)
{
    if (r->p < r->end && *r->p == '-') r->p++;
    if (r->p < r->end && *r->p == '0') r->p++;
    else if (!json_digits(r)) return false;
    if (r->p < r->end && *r->p == '.') {
        r->p++;
        if (!json_digits(r)) return false;
    }
    if (r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
        r->p++;
        if (r->p < r->end && (*r->p == '+' || *r->p == '-')) r->p++;
        return json_digits(r);
    }
    return true;
}

static bool json_read_word(json_reader_t *r)
{
    static const char *const words[] = { "true", "false", "null" };
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(r->end - r->p) < n || memcmp(r->p, words[i], n) != 0) continue;
        r->p += n;
        return true;
    }
    return false;
}

/* A value that is no object and no list. */
static bool json_read_plain(json_reader_t *r)
{
    json_blanks(r);
    if (r->p == r->end) return false;
    if (*r->p == '"') return json_read_string(r);
    if (*r->p == '-' || isdigit((unsigned char)*r->p)) return json_read_number(r);
    return json_read_word(r);
}

static bool json_read_key(json_reader_t *r)
{
    return json_read_string(r) && json_eat(r, ':');
}

/* Behind a value: closes what ends there. 1: another value follows, 0: all is read, -1: neither. */
static int json_after(json_reader_t *r, const char *open, size_t *depth)
{
    while (*depth > 0) {
        char bracket = open[*depth - 1];
        if (json_eat(r, ',')) return bracket == ']' || json_read_key(r) ? 1 : -1;
        if (!json_eat(r, bracket)) return -1;
        (*depth)--;
    }
    json_blanks(r);
    return r->p == r->end ? 0 : -1;
}

bool text_is_json(ensign_slice_t s)
{
    char open[JSON_DEPTH];
    size_t depth = 0;
    json_reader_t r = { (const char *)s.ptr, (const char *)s.ptr + s.len };
    int more = 1;

    if (!text_is_utf8(s)) return false;
    while (more > 0) {
        bool list = json_eat(&r, '['), object = !list && json_eat(&r, '{');
        if (list || object) {
            if (depth == JSON_DEPTH) return false;
            open[depth++] = list ? ']' : '}';
            if (!json_eat(&r, open[depth - 1])) {
                if (object && !json_read_key(&r)) return false;
                continue;
            }
            depth--;
        } else if (!json_read_plain(&r)) {
            return false;
        }
        more = json_after(&r, open, &depth);
    }
    return more == 0;
}

/* ---- numbers and times */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool text_from_hex(const char *hex, uint8_t **out, size_t *len)
{
    uint8_t *bytes = x_realloc(NULL, strlen(hex) / 2 + 1);
    int high = -1;

    *len = 0;
    for (; *hex != '\0'; hex++) {
        int digit = hex_digit(*hex);
        if (isspace((unsigned char)*hex)) continue;
        if (digit < 0) break;
        if (high >= 0) bytes[(*len)++] = (uint8_t)(high << 4 | digit);
        high = high < 0 ? digit : -1;
    }
    *out = bytes;
    if (*hex == '\0' && high < 0) return true;
    free(bytes);
    *out = NULL;
    return false;
}

bool text_to_u64(const char *text, uint64_t *out)
{
    char *end;

    if (!isdigit((unsigned char)*text)) return false;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

bool text_to_double(const char *text, double *out)
{
    char *end;

    if (isspace((unsigned char)*text) || *text == '\0') return false;
    *out = strtod(text, &end);
    return *end == '\0' && *out >= -DBL_MAX && *out <= DBL_MAX; /* neither infinity nor NaN */
}

bool text_to_ms(const char *text, uint64_t *out)
{
    static const struct { const char *name; double ms; } units[] = {
        { "", 1e3 }, { "ms", 1 }, { "s", 1e3 }, { "m", 60e3 }, { "h", 3600e3 },
    };
    char *end;
    double number;

    if (!isdigit((unsigned char)*text) && *text != '.') return false;
    number = strtod(text, &end);
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        if (strcmp(end, units[i].name) != 0) continue;
        if (number * units[i].ms > 1e15) return false;
        *out = (uint64_t)(number * units[i].ms + 0.5);
        return true;
    }
    return false;
}

const char *text_time(ensign_time_t t, char out[TIME_TEXT])
{
    time_t seconds = (time_t)t.seconds;
    struct tm tm;
    size_t n;

    out[0] = '\0';
    if ((t.seconds == 0 && t.nanos == 0) || !gmtime_r(&seconds, &tm)) return out;
    n = strftime(out, TIME_TEXT - 12, "%Y-%m-%dT%H:%M:%S", &tm);
    if (n == 0 || t.nanos < 0 || t.nanos > 999999999) return out[0] = '\0', out;
    if (t.nanos > 0) n += (size_t)snprintf(out + n, TIME_TEXT - n, ".%09" PRId32, t.nanos);
    while (t.nanos > 0 && out[n - 1] == '0') n--;
    memcpy(out + n, "Z", 2);
    return out;
}

const char *text_number(uint64_t n, char out[NUMBER_TEXT])
{
    char plain[24];
    size_t len = (size_t)snprintf(plain, sizeof plain, "%" PRIu64, n), at = 0;

    for (size_t i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) out[at++] = ',';
        out[at++] = plain[i];
    }
    out[at] = '\0';
    return out;
}

const char *text_duration(double seconds, char out[NUMBER_TEXT])
{
    uint64_t s = (uint64_t)seconds;

    if (seconds <= 0) snprintf(out, NUMBER_TEXT, "under 1 ms"); /* what most clocks here count in */
    else if (seconds < 0.001) snprintf(out, NUMBER_TEXT, "%.0f us", seconds * 1e6);
    else if (seconds < 1) snprintf(out, NUMBER_TEXT, "%.1f ms", seconds * 1e3);
    else if (s < 60) snprintf(out, NUMBER_TEXT, "%.1f s", seconds);
    else if (s < 3600) snprintf(out, NUMBER_TEXT, "%" PRIu64 " m %" PRIu64 " s", s / 60, s % 60);
    else if (s < 86400) snprintf(out, NUMBER_TEXT, "%" PRIu64 " h %" PRIu64 " m", s / 3600, s / 60 % 60);
    else snprintf(out, NUMBER_TEXT, "%" PRIu64 " d %" PRIu64 " h", s / 86400, s / 3600 % 24);
    return out;
}

const char *text_size(double bytes, char out[NUMBER_TEXT])
{
    static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
    size_t unit = 0;

    while (bytes >= 1000 && unit + 1 < COUNT_OF(units)) bytes /= 1000, unit++;
    snprintf(out, NUMBER_TEXT, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
    return out;
}
