/* from_json.c - see from_json.h */
#include "from_json.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The values of a line's members, as they are written there; len 0: absent, or null. */
typedef struct line_fields_t {
    ensign_slice_t kind, data, data_encoding, key, key_encoding, mimetype, mimetype_number, type, metadata;
    ensign_slice_t encryption, compression;
} line_fields_t;

typedef struct type_fields_t { ensign_slice_t name, version; } type_fields_t;

typedef struct field_t { const char *name; size_t at; } field_t;

#define OF_LINE(name) { #name, offsetof(line_fields_t, name) }
static const field_t of_line[] = {
    OF_LINE(kind), OF_LINE(data), OF_LINE(data_encoding), OF_LINE(key), OF_LINE(key_encoding),
    OF_LINE(mimetype), OF_LINE(mimetype_number), OF_LINE(type), OF_LINE(metadata), OF_LINE(encryption),
    OF_LINE(compression),
};
static const field_t of_type[] = {
    { "name", offsetof(type_fields_t, name) }, { "version", offsetof(type_fields_t, version) },
};

static bool bad(from_json_t *j, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(j->why, sizeof j->why, format, args);
    va_end(args);
    return false;
}

/* The members of an object that have a place in `out`; the others are passed over. */
static bool collect(from_json_t *j, ensign_slice_t object, const field_t *fields, size_t count, void *out)
{
    members_t walk = { object, false };
    ensign_slice_t key, value, *place;
    int more;

    while ((more = text_member(&walk, &key, &value)) > 0) {
        size_t i = 0;
        while (i < count && !text_quoted_is(key, fields[i].name)) i++;
        if (i == count || value.ptr[0] == 'n') continue;
        place = (ensign_slice_t *)(void *)((char *)out + fields[i].at);
        if (place->len > 0) return bad(j, "%s is given twice; leave one out", fields[i].name);
        *place = value;
    }
    return more == 0 || bad(j, "it is not a JSON object");
}

/* ---- strings, into the room */

static bool is_string(ensign_slice_t value, ensign_slice_t *inside)
{
    if (value.ptr[0] != '"') return false;
    inside->ptr = value.ptr + 1;
    inside->len = value.len - 2;
    return true;
}

static bool read_string(from_json_t *j, const char *name, ensign_slice_t value, ensign_slice_t *out)
{
    ensign_slice_t inside;

    out->ptr = j->at;
    out->len = 0;
    if (value.len == 0) return true;
    if (!is_string(value, &inside)) return bad(j, "%s: give a string", name);
    out->len = text_unquote(inside, j->at);
    j->at += out->len;
    return true;
}

static bool read_base64(from_json_t *j, const char *name, ensign_slice_t value, ensign_slice_t *out)
{
    uint8_t *start = j->at;

    if (!read_string(j, name, value, out)) return false;
    if (!text_from_base64(*out, start, &out->len)) return bad(j, "%s is not base64", name);
    j->at = start + out->len;
    return true;
}

/* With a second member that tells how it is written: "text", which is also the default, or "base64". */
static bool read_bytes(from_json_t *j, const char *name, ensign_slice_t value, ensign_slice_t encoding,
                       ensign_slice_t *out)
{
    ensign_slice_t inside;
    bool string;

    if (encoding.len == 0) return read_string(j, name, value, out);
    string = is_string(encoding, &inside);
    if (string && text_quoted_is(inside, "base64")) return read_base64(j, name, value, out);
    if (string && text_quoted_is(inside, "text")) return read_string(j, name, value, out);
    return bad(j, "%s_encoding: give \"text\" or \"base64\"", name);
}

/* ---- the other fields */

static bool read_number(from_json_t *j, ensign_slice_t value, int32_t *out)
{
    char digits[12], *end;
    long long n;

    if (value.len < sizeof digits) {
        memcpy(digits, value.ptr, value.len);
        digits[value.len] = '\0';
        n = strtoll(digits, &end, 10);
        *out = (int32_t)n;
        if (*end == '\0' && n >= INT32_MIN && n <= INT32_MAX) return true;
    }
    return bad(j, "mimetype_number: give a whole number of 32 bits");
}

/* The number says all. Without it the name will do, where the service knows it. */
static bool read_mimetype(from_json_t *j, const line_fields_t *f, int32_t *out)
{
    ensign_slice_t name;
    int32_t named = 0;
    bool known;

    *out = ENSIGN_MIME_TEXT_PLAIN;
    if (!read_string(j, "mimetype", f->mimetype, &name)) return false;
    known = name.len > 0 && ensign_mime_parse(name, &named) == ENSIGN_OK;
    if (f->mimetype_number.len > 0) {
        if (!read_number(j, f->mimetype_number, out)) return false;
        return !known || named == *out || bad(j, "mimetype and mimetype_number differ; leave one out");
    }
    if (name.len == 0) return true;
    *out = named;
    return known || bad(j, "mimetype: give one that the service knows, such as application/json, or "
                           "mimetype_number");
}

static bool read_type(from_json_t *j, ensign_slice_t value, ensign_type_t *out)
{
    type_fields_t f;
    ensign_slice_t name, version;

    memset(out, 0, sizeof *out);
    memset(&f, 0, sizeof f);
    if (value.len == 0) return true;
    if (value.ptr[0] != '{') return bad(j, "type: give an object with name and version");
    if (!collect(j, value, of_type, COUNT_OF(of_type), &f)) return false;
    if (!read_string(j, "type.name", f.name, &name)) return false;
    if (!read_string(j, "type.version", f.version, &version)) return false;
    *j->at++ = '\0';            /* behind the version, for the library's reader: no other one may be there */
    if (memchr(version.ptr, '\0', version.len) != NULL ||
        ensign_type_parse("name", (const char *)version.ptr, out) != ENSIGN_OK)
        return bad(j, "type.version: give a semantic version, such as 1.2.3");
    out->name = name;
    return true;
}

/* ---- metadata */

static int order_of_keys(const void *a, const void *b)
{
    const ensign_slice_t *x = a, *y = b;
    return text_order(*x, *y);
}

/* As much of a key as an error shows. */
static int shown(ensign_slice_t key)
{
    return key.len < 100 ? (int)key.len : 100;
}

static bool are_different(from_json_t *j, ensign_slice_t *keys, size_t count)
{
    if (count > 1) qsort(keys, count, sizeof *keys, order_of_keys);
    for (size_t i = 1; i < count; i++)
        if (order_of_keys(&keys[i - 1], &keys[i]) == 0)
            return bad(j, "metadata: the key \"%.*s\" is given twice; leave one out",
                       shown(keys[i]), (const char *)keys[i].ptr);
    return true;
}

static bool read_pair(from_json_t *j, ensign_slice_t key, ensign_slice_t value, ensign_slice_t *name)
{
    ensign_slice_t inside;

    name->ptr = j->at;
    name->len = text_unquote(key, j->at);
    j->at += name->len;
    if (!is_string(value, &inside))
        return bad(j, "metadata: the value of \"%.*s\" is not a string", shown(*name),
                   (const char *)name->ptr);
    if (!read_string(j, "metadata", value, &value)) return false;
    j->wire = text_put_pair(j->wire, *name, value);
    return true;
}

static bool read_metadata(from_json_t *j, ensign_slice_t object, ensign_slice_t *out)
{
    members_t walk = { object, false };
    ensign_slice_t key, value, *keys = NULL;
    size_t count = 0, room = 0;
    int more = 0;
    bool ok = true;

    out->ptr = j->wire;
    while (ok && object.len > 0 && (more = text_member(&walk, &key, &value)) > 0) {
        if (count == room) keys = x_realloc(keys, (room = 2 * room + 16) * sizeof *keys);
        ok = read_pair(j, key, value, &keys[count++]);
    }
    if (ok && more < 0) ok = bad(j, "metadata: give an object of strings");
    ok = ok && are_different(j, keys, count);
    free(keys);
    out->len = (size_t)(j->wire - out->ptr);
    return ok;
}

/* ---- the whole */

/* A string grows shorter as it is unescaped. A pair of metadata has six characters or more around it, and an
 * encoded one six bytes; only one of over 120 bytes has more of them, up to PAIR_BYTES. */
static void make_room(from_json_t *j, size_t len)
{
    size_t strings = len + 1, pairs = len + len / 4 + PAIR_BYTES;

    if (strings + pairs > j->cap) {
        j->cap = strings + pairs;
        j->room = x_realloc(j->room, j->cap);
    }
    j->at = j->room;
    j->wire = j->room + strings;
}

static bool read_event(from_json_t *j, const line_fields_t *f, ensign_event_t *e)
{
    if (f->data.len == 0) return bad(j, "data is missing");
    return read_bytes(j, "data", f->data, f->data_encoding, &e->data) &&
           read_bytes(j, "key", f->key, f->key_encoding, &e->key) &&
           read_mimetype(j, f, &e->mimetype) && read_type(j, f->type, &e->type) &&
           read_base64(j, "encryption", f->encryption, &e->encryption) &&
           read_base64(j, "compression", f->compression, &e->compression) &&
           read_metadata(j, f->metadata, &e->metadata);
}

static bool is_kind(ensign_slice_t kind, const char *word)
{
    return kind.len == strlen(word) && memcmp(kind.ptr, word, kind.len) == 0;
}

from_json_result_t from_json(from_json_t *j, ensign_slice_t line, ensign_event_t *e)
{
    line_fields_t f;
    ensign_slice_t kind;

    memset(&f, 0, sizeof f);
    make_room(j, line.len);
    if (!collect(j, line, of_line, COUNT_OF(of_line), &f)) return FROM_JSON_BAD;
    if (!read_string(j, "kind", f.kind, &kind)) return FROM_JSON_BAD;
    if (is_kind(kind, "gap") || is_kind(kind, "topic") || is_kind(kind, "key")) return FROM_JSON_NONE;
    if (kind.len > 0 && !is_kind(kind, "event")) {
        bad(j, "kind: give \"event\", or leave it out");
        return FROM_JSON_BAD;
    }
    return read_event(j, &f, e) ? FROM_JSON_EVENT : FROM_JSON_BAD;
}

void from_json_end(from_json_t *j)
{
    free(j->room);
    memset(j, 0, sizeof *j);
}
