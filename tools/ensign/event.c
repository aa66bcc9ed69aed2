/* event.c - see event.h */
#include "event.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void json_type(const ensign_type_t *t)
{
    char version[40];

    if (t->name.len == 0) {
        json_null("type");
        return;
    }
    snprintf(version, sizeof version, "%" PRIu32 ".%" PRIu32 ".%" PRIu32, t->major, t->minor, t->patch);
    json_object("type");
    json_slice("name", t->name);
    json_text("version", version);
    json_close();
}

/* A key that came twice stands there twice: readers of JSON take the last one, as those of metadata do. */
static void json_metadata(const ensign_event_t *e)
{
    ensign_slice_t key, value;
    size_t at = 0;

    json_object("metadata");
    while (ensign_metadata_next(e, &at, &key, &value)) json_member(key, value);
    json_close();
}

static void json_optional(const char *key, ensign_slice_t s)
{
    if (s.len > 0) json_slice(key, s);
}

static void print_json(const ensign_event_t *e)
{
    json_object(NULL);
    json_text("kind", "event");
    json_rlid("id", e->id);
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
    json_optional("publisher", e->publisher_client_id);
    json_optional("publisher_id", e->publisher_id);
    json_optional("publisher_address", e->publisher_address);
    json_optional("publisher_agent", e->publisher_agent);
    if (memcmp(&e->duplicate_of, &no_rlid, sizeof no_rlid) != 0) json_rlid("duplicate_of", e->duplicate_of);
    json_data("data", e->data);
    json_close();
}

/* The library's text is printable already; it may have any character that is. */
static void print_text(const ensign_event_t *e)
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

void event_print(const options_t *o, const ensign_event_t *e)
{
    if (o->json) {
        print_json(e);
    } else if (o->raw || o->null || o->no_newline) {
        out_raw(e->data);
        if (o->null) out_bytes("", 1);
        else if (!o->no_newline) out_text("\n");
    } else {
        print_text(e);
    }
}

int event_check(const options_t *o)
{
    if (o->json && (o->raw || o->null || o->no_newline))
        return options_refuse(o, "--json and --raw are two ways to print; use one of them");
    if (o->null && o->no_newline)
        return options_refuse(o, "--null puts a byte between events, --no-newline nothing; use one of them");
    return EXIT_DONE;
}
