/* event.c - see event.h */
#include "event.h"
#include "format.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATA_SHOWN 100          /* characters of an event's data, unless --full is given */

static const ensign_rlid_t no_rlid;
static const ensign_ulid_t no_ulid;

static void json_rlid(const char *key, ensign_rlid_t id)
{
    char text[17];

    ensign_rlid_text(id, text);
    json_text(key, memcmp(&id, &no_rlid, sizeof id) != 0 ? text : NULL);
}

static void json_ulid(const char *key, ensign_ulid_t id)
{
    char text[27];

    ensign_ulid_text(id, text);
    json_text(key, memcmp(&id, &no_ulid, sizeof id) != 0 ? text : NULL);
}

static bool has_schema(const ensign_type_t *t)
{
    return t->name.len > 0 || t->major > 0 || t->minor > 0 || t->patch > 0;
}

static void json_type(const ensign_type_t *t)
{
    char version[40];

    if (!has_schema(t)) {
        json_null("type");
        return;
    }
    snprintf(version, sizeof version, "%" PRIu32 ".%" PRIu32 ".%" PRIu32, t->major, t->minor, t->patch);
    json_object("type");
    json_slice("name", t->name);
    json_text("version", version);
    json_close();
}

typedef struct pair_t { ensign_slice_t key, value; size_t place; bool last; } pair_t;

static int order_of_pairs(const void *a, const void *b)
{
    const pair_t *x = a, *y = b;
    int order = text_order(x->key, y->key);
    return order ? order : (x->place > y->place) - (x->place < y->place);
}

static int order_of_places(const void *a, const void *b)
{
    const pair_t *x = a, *y = b;
    return (x->place > y->place) - (x->place < y->place);
}

/* An event may come with a key twice. Metadata is a map, in which the last value of a key counts: that one is
 * printed, for an object of JSON has each key once. */
static void json_metadata(const ensign_event_t *e)
{
    pair_t *pairs = NULL;
    size_t at = 0, count = 0, room = 0;
    pair_t pair = { { NULL, 0 }, { NULL, 0 }, 0, true };

    for (; ensign_metadata_next(e, &at, &pair.key, &pair.value); count++) {
        if (count == room) pairs = x_realloc(pairs, (room = 2 * room + 16) * sizeof *pairs);
        pair.place = count;
        pairs[count] = pair;
    }
    if (count > 1) qsort(pairs, count, sizeof *pairs, order_of_pairs);
    for (size_t i = 1; i < count; i++)
        if (text_order(pairs[i - 1].key, pairs[i].key) == 0) pairs[i - 1].last = false;
    if (count > 1) qsort(pairs, count, sizeof *pairs, order_of_places);
    json_object("metadata");
    for (size_t i = 0; i < count; i++)
        if (pairs[i].last) json_member(pairs[i].key, pairs[i].value);
    json_close();
    free(pairs);
}

static void json_optional(const char *key, ensign_slice_t s)
{
    if (s.len > 0) json_slice(key, s);
}

/* Encoded messages: base64 always. */
static void json_encoded(const char *key, ensign_slice_t s)
{
    if (s.len > 0) json_base64(key, s);
}

static void print_json(const ensign_event_t *e)
{
    json_object(NULL);
    json_text("kind", "event");
    json_rlid("id", e->id);
    if (e->offset > 0) json_uint("offset", e->offset);
    if (e->epoch > 0) json_uint("epoch", e->epoch);
    if (e->topic_name.len > 0) json_slice("topic", e->topic_name);
    else json_null("topic");
    json_ulid("topic_id", e->topic_id);
    json_text("mimetype", ensign_mime_name(e->mimetype));
    json_int("mimetype_number", e->mimetype);
    json_type(&e->type);
    json_metadata(e);
    json_time("created", e->created);
    json_time("committed", e->committed);
    if (e->key.len > 0) json_data("key", e->key);
    json_encoded("encryption", e->encryption);
    json_encoded("compression", e->compression);
    json_optional("publisher", e->publisher_client_id);
    json_optional("publisher_id", e->publisher_id);
    json_optional("publisher_address", e->publisher_address);
    json_optional("publisher_agent", e->publisher_agent);
    if (memcmp(&e->duplicate_of, &no_rlid, sizeof no_rlid) != 0) json_rlid("duplicate_of", e->duplicate_of);
    json_data("data", e->data);
    json_close();
}

/* ---- parts */

void event_topic(const ensign_event_t *e, event_put_t *put)
{
    char id[27];

    ensign_ulid_text(e->topic_id, id);
    put(e->topic_name.len > 0 ? e->topic_name : ensign_str(id));
}

void event_id(const ensign_event_t *e)
{
    char id[17];

    ensign_rlid_text(e->id, id);
    if (memcmp(&e->id, &no_rlid, sizeof no_rlid) != 0) out_text(id);
}

void event_mimetype(const ensign_event_t *e)
{
    const char *name = ensign_mime_name(e->mimetype);

    if (strcmp(name, "unknown") != 0) out_text(name);
    else out_format("%" PRId32, e->mimetype);
}

void event_schema(const ensign_event_t *e, event_put_t *put)
{
    const ensign_type_t *t = &e->type;

    if (!has_schema(t)) return;
    put(t->name);
    if (t->name.len > 0) out_text(" ");
    out_format("v%" PRIu32 ".%" PRIu32 ".%" PRIu32, t->major, t->minor, t->patch);
}

void event_metadata(const ensign_event_t *e, const char *between, event_put_t *put)
{
    ensign_slice_t key, value;
    size_t at = 0;
    bool more = false;

    for (; ensign_metadata_next(e, &at, &key, &value); more = true) {
        if (more) out_text(between);
        put(key);
        out_text("=");
        put(value);
    }
}

/* ---- as text */

static void put_line(ensign_slice_t s)
{
    out_safe(s, false);
}

/* The front of these bytes, of so many characters; a byte that is no UTF-8 counts as one. */
static ensign_slice_t front_of(ensign_slice_t s, size_t characters)
{
    ensign_slice_t front = { s.ptr, 0 };

    for (; front.len < s.len && characters > 0; characters--) {
        ensign_slice_t rest = { s.ptr + front.len, s.len - front.len };
        uint32_t c;
        size_t n = utf8_char(rest, &c);
        front.len += n > 0 ? n : 1;
    }
    return front;
}

static void text_data(const options_t *o, ensign_slice_t data)
{
    ensign_slice_t shown = o->full ? data : front_of(data, DATA_SHOWN);

    put_line(shown);
    if (shown.len < data.len) out_text("...");
}

static void text_time_of(const char *name, ensign_time_t t)
{
    char text[TIME_TEXT];

    if (text_time(t, text)[0] != '\0') out_format("\t%s: %s\n", name, text);
}

static void print_text(const options_t *o, const ensign_event_t *e, bool many)
{
    out_text("Event:");
    if (many) {
        out_text("\n\ttopic: ");
        event_topic(e, put_line);
    }
    out_text("\n\tid: ");
    event_id(e);
    if (e->offset > 0) out_format("\n\toffset: %" PRIu64, e->offset);
    out_text("\n\tdata: ");
    text_data(o, e->data);
    out_text("\n\tmimetype: ");
    event_mimetype(e);
    if (has_schema(&e->type)) {
        out_text("\n\tschema: ");
        event_schema(e, put_line);
    }
    if (e->key.len > 0) {
        out_text("\n\tkey: ");
        put_line(e->key);
    }
    if (e->metadata.len > 0) {
        out_text("\n\tmeta: ");
        event_metadata(e, ", ", put_line);
    }
    out_text("\n");
    text_time_of("created", e->created);
    text_time_of("committed", e->committed);
}

/* The library's text is printable already; it may have any character that is. */
static void print_python(const ensign_event_t *e)
{
    static char *text;
    static size_t cap;
    int len = ensign_event_text(e, text, cap);
    ensign_slice_t s;

    if (len < 0) return;
    if ((size_t)len >= cap) {
        cap = (size_t)len + 4096;
        text = x_realloc(text, cap);
        ensign_event_text(e, text, cap);
    }
    s.ptr = (const uint8_t *)text;
    s.len = (size_t)len;
    out_safe(s, true);
    out_text("\n");
}

void event_print(const options_t *o, const ensign_event_t *e, bool many)
{
    if (o->json) {
        print_json(e);
    } else if (o->format) {
        format_print(o->format, e);
    } else if (o->raw || o->null || o->no_newline) {
        out_raw(e->data);
        if (o->null) out_bytes("", 1);
        else if (!o->no_newline) out_text("\n");
    } else if (o->python) {
        print_python(e);
    } else {
        print_text(o, e, many);
    }
}

int event_check(const options_t *o)
{
    const struct { bool given; const char *name; } ways[] = {
        { o->json, "--json" }, { o->raw || o->null || o->no_newline, "--raw" }, { o->format, "--format" },
        { o->python, "--python" }, { o->full, "--full" },
    };
    const char *first = NULL;

    for (size_t i = 0; i < COUNT_OF(ways); i++) {
        if (!ways[i].given) continue;
        if (first)
            return options_refuse(o, "%s and %s are two ways to print; use one of them", first, ways[i].name);
        first = ways[i].name;
    }
    if (o->null && o->no_newline)
        return options_refuse(o, "--null puts a byte between events, --no-newline nothing; use one of them");
    return o->format ? format_check(o) : EXIT_DONE;
}
