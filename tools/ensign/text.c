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

int text_order(ensign_slice_t a, ensign_slice_t b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.ptr, b.ptr, len) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

bool text_unsafe(uint32_t c)
{
    if (c < 0x20 || (c >= 0x7F && c < 0xA0)) return true;
    return c == 0x061C || c == 0x200E || c == 0x200F || c == 0x2028 || c == 0x2029 ||
           (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

/* ---- numbers and times */

int text_hex_digit(char c)
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
        int digit = text_hex_digit(*hex);
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

char *text_base64(ensign_slice_t s)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out = x_realloc(NULL, (s.len + 2) / 3 * 4 + 1), *to = out;

    for (size_t at = 0; at < s.len; at += 3, to += 4) {
        size_t left = s.len - at;
        uint32_t v = (uint32_t)s.ptr[at] << 16;
        if (left > 1) v |= (uint32_t)s.ptr[at + 1] << 8;
        if (left > 2) v |= s.ptr[at + 2];
        for (int i = 0; i < 4; i++) to[i] = digits[v >> (18 - 6 * i) & 63];
        if (left < 3) to[3] = '=';
        if (left < 2) to[2] = '=';
    }
    *to = '\0';
    return out;
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

/* A number of just so many digits, and no less than `least`, no more than `most`. */
static bool take_digits(const char **text, int digits, int least, int most, int *out)
{
    *out = 0;
    for (; digits > 0; digits--, (*text)++) {
        if (!isdigit((unsigned char)**text)) return false;
        *out = 10 * *out + (**text - '0');
    }
    return *out >= least && *out <= most;
}

static bool take_char(const char **text, const char *one_of)
{
    if (**text == '\0' || !strchr(one_of, **text)) return false;
    (*text)++;
    return true;
}

static int days_of_month(int year, int month)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && leap);
}

/* The days from 1970-01-01 on. The year is counted from March, so that the leap day is its last one. */
static bool take_date(const char **text, int64_t *days)
{
    int year, month, day, shifted;

    if (!take_digits(text, 4, 1970, 9999, &year) || !take_char(text, "-") ||
        !take_digits(text, 2, 1, 12, &month) || !take_char(text, "-") ||
        !take_digits(text, 2, 1, days_of_month(year, month), &day))
        return false;
    shifted = (month + 9) % 12;
    year -= month <= 2;
    *days = 365 * (int64_t)year + year / 4 - year / 100 + year / 400 + (153 * shifted + 2) / 5 + day - 719469;
    return true;
}

/* Digits behind the ninth are left out. */
static bool take_fraction(const char **text, int32_t *nanos)
{
    int32_t unit = 100000000;

    *nanos = 0;
    if (!take_char(text, ".")) return true;
    if (!isdigit((unsigned char)**text)) return false;
    for (; isdigit((unsigned char)**text); (*text)++, unit /= 10) *nanos += unit * (**text - '0');
    return true;
}

/* "Z", or how far the clock there is before UTC; in seconds. */
static bool take_zone(const char **text, int *zone)
{
    const char *sign = *text;
    int hours, minutes;

    *zone = 0;
    if (take_char(text, "Zz")) return true;
    if (!take_char(text, "+-") || !take_digits(text, 2, 0, 23, &hours) || !take_char(text, ":") ||
        !take_digits(text, 2, 0, 59, &minutes))
        return false;
    *zone = (hours * 60 + minutes) * (*sign == '-' ? -60 : 60);
    return true;
}

bool text_to_time(const char *text, ensign_time_t *out)
{
    int hours, minutes, seconds, zone;
    int64_t days;

    if (!take_date(&text, &days) || !take_char(&text, "Tt ") || !take_digits(&text, 2, 0, 23, &hours) ||
        !take_char(&text, ":") || !take_digits(&text, 2, 0, 59, &minutes) || !take_char(&text, ":") ||
        !take_digits(&text, 2, 0, 60, &seconds) || !take_fraction(&text, &out->nanos) ||
        !take_zone(&text, &zone) || *text != '\0')
        return false;
    out->seconds = days * 86400 + hours * 3600 + minutes * 60 + seconds - zone;
    return out->seconds > 0 || (out->seconds == 0 && out->nanos > 0);
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
