/* output.c - see output.h */
#include "output.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OUT_BYTES 65536
#define JSON_NEST 16

static struct {
    char   bytes[OUT_BYTES];
    size_t len;
    int    failed;                  /* errno of the first write that failed */
    bool   terminal, pipe, colors, error_terminal, error_colors, quiet;
    bool   progress;                /* a progress line stands on standard error */
} out;

static struct { char open[JSON_NEST]; size_t depth; bool comma; } json;

static bool use_colors(color_t color, bool terminal)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

    if (color != COLOR_AUTO) return color == COLOR_ALWAYS;
    if (no_color && no_color[0] != '\0') return false;
    return terminal && term && strcmp(term, "dumb") != 0;
}

void output_setup(color_t color, bool quiet)
{
    struct stat st;

    out.terminal = isatty(STDOUT_FILENO) == 1;
    out.error_terminal = isatty(STDERR_FILENO) == 1;
    out.pipe = fstat(STDOUT_FILENO, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
    out.colors = use_colors(color, out.terminal);
    out.error_colors = use_colors(color, out.error_terminal);
    out.quiet = quiet;
}

/* ---- standard output */

void out_flush(void)
{
    size_t at = 0;

    while (at < out.len && out.failed == 0) {
        ssize_t n = write(STDOUT_FILENO, out.bytes + at, out.len - at);
        if (n >= 0) at += (size_t)n;
        else if (errno != EINTR) out.failed = errno; /* after a signal the rest is written all the same */
    }
    out.len = 0;
}

void out_bytes(const void *p, size_t len)
{
    const char *from = p;

    while (len > 0) {
        size_t n = len < OUT_BYTES - out.len ? len : OUT_BYTES - out.len;
        memcpy(out.bytes + out.len, from, n);
        out.len += n;
        from += n;
        len -= n;
        if (out.len == OUT_BYTES) out_flush();
    }
}

void out_slice(ensign_slice_t s)
{
    if (s.len > 0) out_bytes(s.ptr, s.len);
}

void out_text(const char *text)
{
    out_bytes(text, strlen(text));
}

void out_format(const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    out_text(text);
}

/* Escapes the character at p, or the byte that is not part of one. Returns how many bytes that was. `put` is
 * empty for what is safe. */
static size_t escape_one(const uint8_t *p, size_t len, bool lines, char put[16])
{
    uint32_t c = 0;
    ensign_slice_t s = { p, len };
    size_t n = utf8_char(s, &c);

    put[0] = '\0';
    if (n == 0) return snprintf(put, 16, "\\x%02x", p[0]), 1;
    if (!text_unsafe(c) || (lines && (c == '\n' || c == '\t'))) return n;
    if (c == '\n') snprintf(put, 16, "\\n");
    else if (c == '\t') snprintf(put, 16, "\\t");
    else if (c == '\r') snprintf(put, 16, "\\r");
    else if (c < 0x100) snprintf(put, 16, "\\x%02" PRIx32, c);
    else snprintf(put, 16, "\\u%04" PRIx32, c);
    return n;
}

void out_safe(ensign_slice_t s, bool lines)
{
    char put[16];

    for (size_t at = 0, n; at < s.len; at += n) {
        n = escape_one(s.ptr + at, s.len - at, lines, put);
        if (put[0] != '\0') out_text(put);
        else out_bytes(s.ptr + at, n);
    }
}

void out_raw(ensign_slice_t s)
{
    if (out.terminal) out_safe(s, true);
    else out_slice(s);
}

void out_base64(ensign_slice_t s)
{
    char *text = text_base64(s);

    out_text(text);
    free(text);
}

void out_hex(ensign_slice_t s)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < s.len; i++) {
        char two[2] = { digits[s.ptr[i] >> 4], digits[s.ptr[i] & 15] };
        out_bytes(two, 2);
    }
}

int out_failed(void)
{
    return out.failed;
}

void out_note_closed(void)
{
    if (out.failed == 0) out.failed = EPIPE;
}

bool out_is_pipe(void)
{
    return out.pipe;
}

bool out_is_terminal(void)
{
    return out.terminal;
}

static const char *escape_of(const char *sgr, bool on)
{
    static char room[4][16]; /* so that one format can have several */
    static unsigned next;
    char *text = room[next++ % COUNT_OF(room)];

    if (!on) return "";
    snprintf(text, sizeof room[0], "\033[%sm", sgr);
    return text;
}

const char *out_color(const char *sgr)
{
    return escape_of(sgr, out.colors);
}

/* ---- JSON */

static void json_put_string(ensign_slice_t s)
{
    out_text("\"");
    for (size_t n; s.len > 0; s.ptr += n, s.len -= n) {
        uint32_t c = 0;
        n = utf8_char(s, &c);
        if (n == 0) out_text("\xEF\xBF\xBD"), n = 1;
        else if (c == '"' || c == '\\') out_format("\\%c", (int)c);
        else if (c == '\n') out_text("\\n");
        else if (c == '\t') out_text("\\t");
        else if (c == '\r') out_text("\\r");
        else if (text_unsafe(c)) out_format("\\u%04" PRIx32, c); /* all below U+10000 */
        else out_bytes(s.ptr, n);
    }
    out_text("\"");
}

static void json_begin(const char *key)
{
    if (json.comma) out_text(",");
    json.comma = true;
    if (!key) return;
    json_put_string(ensign_str(key));
    out_text(":");
}

static void json_open(const char *key, char open, char closing)
{
    json_begin(key);
    out_bytes(&open, 1);
    if (json.depth < JSON_NEST) json.open[json.depth++] = closing;
    json.comma = false;
}

void json_object(const char *key)
{
    json_open(key, '{', '}');
}

void json_list(const char *key)
{
    json_open(key, '[', ']');
}

void json_close(void)
{
    out_bytes(&json.open[--json.depth], 1);
    json.comma = json.depth > 0;
    if (json.depth == 0) out_text("\n");
}

void json_slice(const char *key, ensign_slice_t s)
{
    json_begin(key);
    json_put_string(s);
}

void json_member(ensign_slice_t key, ensign_slice_t value)
{
    json_begin(NULL);
    json_put_string(key);
    out_text(":");
    json_put_string(value);
}

/* What a program wrote as JSON can have characters that must not reach a terminal, and has some escaped that
 * need not be: \\u003c for a <. */
static void json_put_value(ensign_slice_t s)
{
    for (size_t n; s.len > 0; s.ptr += n, s.len -= n) {
        uint32_t c = 0;
        n = utf8_char(s, &c);
        if (n == 0) out_text("\xEF\xBF\xBD"), n = 1;
        else if (c == '\\' && s.len >= 6 && memcmp(s.ptr, "\\u003c", 6) == 0) out_text("<"), n = 6;
        else if (c == '\\' && s.len >= 6 && memcmp(s.ptr, "\\u003e", 6) == 0) out_text(">"), n = 6;
        else if (c == '\\' && s.len >= 2) out_bytes(s.ptr, n = 2);
        else if (c >= 0x7F && text_unsafe(c)) out_format("\\u%04" PRIx32, c);
        else out_bytes(s.ptr, n);
    }
}

void json_value(const char *key, ensign_slice_t value)
{
    json_begin(key);
    json_put_value(value);
    json.comma = json.depth > 0;
    if (json.depth == 0) out_text("\n");
}

void json_text(const char *key, const char *text)
{
    if (text) json_slice(key, ensign_str(text));
    else json_null(key);
}

void json_uint(const char *key, uint64_t n)
{
    json_begin(key);
    out_format("%" PRIu64, n);
}

void json_int(const char *key, int64_t n)
{
    json_begin(key);
    out_format("%" PRId64, n);
}

void json_number(const char *key, double n)
{
    json_begin(key);
    out_format("%.9g", n);
}

void json_bool(const char *key, bool b)
{
    json_begin(key);
    out_text(b ? "true" : "false");
}

void json_null(const char *key)
{
    json_begin(key);
    out_text("null");
}

void json_time(const char *key, ensign_time_t t)
{
    char text[TIME_TEXT];

    text_time(t, text);
    json_text(key, text[0] != '\0' ? text : NULL);
}

void json_base64(const char *key, ensign_slice_t s)
{
    json_begin(key);
    out_text("\"");
    out_base64(s);
    out_text("\"");
}

void json_data(const char *key, ensign_slice_t s)
{
    bool plain = utf8_valid(s);
    char name[64];

    snprintf(name, sizeof name, "%s_encoding", key);
    if (plain) json_slice(key, s);
    else json_base64(key, s);
    json_text(name, plain ? "text" : "base64");
}

/* ---- standard error */

bool err_is_terminal(void)
{
    return out.error_terminal;
}

static void err_clear(void)
{
    if (out.progress) fputs(out.error_terminal ? "\r\033[K" : "\n", stderr);
    out.progress = false;
}

static void err_safe(const char *text)
{
    size_t len = strlen(text);
    char put[16];

    for (size_t at = 0, n; at < len; at += n) {
        n = escape_one((const uint8_t *)text + at, len - at, false, put);
        if (put[0] != '\0') fputs(put, stderr);
        else fwrite(text + at, 1, n, stderr);
    }
}

static void err_line(const char *sgr, const char *format, va_list args)
{
    va_list again;
    size_t size;
    char *text;

    va_copy(again, args);
    size = (size_t)vsnprintf(NULL, 0, format, again) + 1;
    va_end(again);
    text = x_realloc(NULL, size);
    vsnprintf(text, size, format, args);
    err_clear();
    fprintf(stderr, "%sensign:%s ", escape_of(sgr, out.error_colors), escape_of("0", out.error_colors));
    err_safe(text);
    fputc('\n', stderr);
    free(text);
}

void say(const char *format, ...)
{
    va_list args;

    if (out.quiet) return;
    va_start(args, format);
    err_line("36", format, args);
    va_end(args);
}

void complain(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    err_line("1;31", format, args);
    va_end(args);
}

void progress(const char *format, ...)
{
    va_list args;

    err_clear();
    if (format[0] == '\0') return;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fflush(stderr);
    out.progress = true;
}
