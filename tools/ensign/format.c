/* format.c - see format.h */
#include "event.h"
#include "format.h"
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

static void put_topic(const ensign_event_t *e) { event_topic(e, out_raw); }
static void put_offset(const ensign_event_t *e) { out_format("%" PRIu64, e->offset); }
static void put_data(const ensign_event_t *e) { out_raw(e->data); }
static void put_data_size(const ensign_event_t *e) { out_format("%zu", e->data.len); }
static void put_key(const ensign_event_t *e) { out_raw(e->key); }
static void put_key_size(const ensign_event_t *e) { out_format("%zu", e->key.len); }
static void put_schema(const ensign_event_t *e) { event_schema(e, out_raw); }
static void put_metadata(const ensign_event_t *e) { event_metadata(e, ",", out_raw); }
static void put_publisher(const ensign_event_t *e) { out_raw(e->publisher_client_id); }

static void put_ms(const ensign_event_t *e)
{
    out_format("%" PRId64, e->created.seconds * 1000 + e->created.nanos / 1000000);
}

static void put_created(const ensign_event_t *e)
{
    char text[TIME_TEXT];
    out_text(text_time(e->created, text));
}

static void put_committed(const ensign_event_t *e)
{
    char text[TIME_TEXT];
    out_text(text_time(e->committed, text));
}

typedef void part_t(const ensign_event_t *e);

/* What kcat has, too, has its letter here: t, o, s, S, k, K, T, h. */
static const struct { char letter; part_t *put; } parts[] = {
    { 't', put_topic }, { 'o', put_offset }, { 'd', put_data }, { 's', put_data }, { 'S', put_data_size },
    { 'k', put_key }, { 'K', put_key_size }, { 'h', put_metadata }, { 'i', event_id },
    { 'm', event_mimetype }, { 'y', put_schema }, { 'p', put_publisher }, { 'T', put_ms },
    { 'c', put_created }, { 'C', put_committed },
};

/* What stands at the front of a format: a part, else a byte. Returns how many characters it has there; 0: it
 * is neither. */
static size_t format_next(const char *at, part_t **part, char *byte)
{
    static const char names[] = "n\nr\rt\t\\\\";
    int high, low;

    *part = NULL;
    *byte = *at;
    if (*at != '%' && *at != '\\') return 1;
    if (*at == '%') {
        for (size_t i = 0; i < COUNT_OF(parts); i++)
            if (parts[i].letter == at[1]) *part = parts[i].put;
        return *part || at[1] == '%' ? 2 : 0;
    }
    for (size_t i = 0; names[i] != '\0'; i += 2) {
        *byte = names[i + 1];
        if (names[i] == at[1]) return 2;
    }
    *byte = '\0';
    if (at[1] == '0') return 2;
    if (at[1] != 'x') return 0;
    high = text_hex_digit(at[2]);
    low = high < 0 ? -1 : text_hex_digit(at[3]);
    if (low < 0) return 0;
    *byte = (char)(high << 4 | low);
    return 4;
}

int format_check(const options_t *o)
{
    part_t *part;
    size_t n;
    char byte;

    for (const char *at = o->format; *at != '\0'; at += n) {
        n = format_next(at, &part, &byte);
        if (n > 0) continue;
        if (at[1] == '\0')
            return options_refuse(o, "--format: a %c at the end says nothing; %c%c is the character itself",
                                  *at, *at, *at);
        if (*at == '%')
            return options_refuse(
                o, "--format: there is no %.2s; ensign %s --help lists them, and %%%% is a percent sign", at,
                o->command->name);
        return options_refuse(
            o, "--format: there is no %.2s; give \\n, \\r, \\t, \\0, \\xHH, or \\\\ for a backslash", at);
    }
    return EXIT_DONE;
}

void format_print(const char *format, const ensign_event_t *e)
{
    part_t *part;
    size_t n;
    char byte;

    for (; *format != '\0'; format += n) {
        n = format_next(format, &part, &byte);
        if (part) part(e);
        else out_bytes(&byte, 1);
    }
}
