/* lib.c - the library, compiled once for all files of this program; and what reads JSON by the library's own
 * readers, writes metadata by its writers, and has messages by its codec */
#define _POSIX_C_SOURCE 200809L
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#include "../common/group_messages.h"
#include "messages.h"

#define JSON_DEPTH 512

/* As the library reads one, but half of a surrogate pair may stand alone: RFC 8259 takes it. */
static bool json_string(ensi_json_t *x)
{
    uint8_t utf8[4];
    uint32_t unit;

    if (!ensi_json_take(x, '"')) return false;
    while (x->p < x->end && *x->p != '"') {
        const uint8_t *u = x->p + 1;
        if (*x->p == '\\' && ensi_json_hex4(&u, x->end, &unit)) x->p = u;
        else if (ensi_json_char(&x->p, x->end, utf8) == 0) return false;
    }
    return ensi_json_take(x, '"');
}

static bool json_eat(ensi_json_t *x, char c)
{
    ensi_json_blanks(x);
    return ensi_json_take(x, c);
}

/* A value that is no object and no list. */
static bool json_plain(ensi_json_t *x)
{
    ensi_json_blanks(x);
    if (x->p == x->end) return false;
    return *x->p == '"' ? json_string(x) : ensi_json_value(x, ENSI_JSON_DEPTH);
}

static bool json_key(ensi_json_t *x)
{
    ensi_json_blanks(x);
    return json_string(x) && json_eat(x, ':');
}

/* Behind a value: closes what ends there. 1: another value follows, 0: the outermost one has ended, -1:
 * neither. */
static int json_after(ensi_json_t *x, const char *open, size_t *depth)
{
    while (*depth > 0) {
        char bracket = open[*depth - 1];
        if (json_eat(x, ',')) return bracket == ']' || json_key(x) ? 1 : -1;
        if (!json_eat(x, bracket)) return -1;
        (*depth)--;
    }
    return 0;
}

/* The library's own reader nests on the stack, and not so deep. Here what is open is a row of brackets. */
static bool json_whole(ensi_json_t *x)
{
    char open[JSON_DEPTH];
    size_t depth = 0;
    int more = 1;

    while (more > 0) {
        bool list = json_eat(x, '['), object = !list && json_eat(x, '{');
        if (list || object) {
            if (depth == JSON_DEPTH) return false;
            open[depth++] = list ? ']' : '}';
            if (!json_eat(x, open[depth - 1])) {
                if (object && !json_key(x)) return false;
                continue;
            }
            depth--;
        } else if (!json_plain(x)) {
            return false;
        }
        more = json_after(x, open, &depth);
    }
    return more == 0;
}

bool text_json(ensign_slice_t s, size_t *end)
{
    ensi_json_t x = { s.ptr, s.ptr + s.len };
    bool ok = json_whole(&x);

    if (ok) ensi_json_blanks(&x);
    *end = (size_t)(x.p - s.ptr);
    return ok;
}

bool text_is_json(ensign_slice_t s)
{
    size_t end;
    return text_json(s, &end) && end == s.len;
}

int text_member(members_t *m, ensign_slice_t *key, ensign_slice_t *value)
{
    ensi_json_t x = { m->rest.ptr, m->rest.ptr + m->rest.len };
    bool first = !m->begun;
    const uint8_t *start;

    m->begun = true;
    if (first && !json_eat(&x, '{')) return -1;
    if (json_eat(&x, '}')) {
        ensi_json_blanks(&x);
        return x.p == x.end ? 0 : -1;
    }
    if ((!first && !json_eat(&x, ',')) || !ensi_json_name(&x, key)) return -1;
    ensi_json_blanks(&x);
    start = x.p;
    if (!ensi_json_value(&x, 1)) return -1;
    *value = ensi_slice(start, (size_t)(x.p - start));
    m->rest = ensi_slice(x.p, (size_t)(x.end - x.p));
    return 1;
}

bool text_quoted_is(ensign_slice_t inside, const char *text)
{
    return ensi_json_is(inside, text);
}

size_t text_unquote(ensign_slice_t inside, uint8_t *out)
{
    const uint8_t *p = inside.ptr, *end = p + inside.len;
    uint8_t utf8[4];
    size_t at = 0, size;

    for (; p < end; at += size) {
        size = ensi_json_char(&p, end, utf8);
        memcpy(out + at, utf8, size);
    }
    return at;
}

bool text_from_base64(ensign_slice_t text, uint8_t *out, size_t *len)
{
    return ensi_base64_decode((const char *)text.ptr, text.len, false, out, text.len, len) == ENSIGN_OK;
}

uint8_t *text_put_pair(uint8_t *p, ensign_slice_t key, ensign_slice_t value)
{
    p = ensi_pb_put_head(p, ENSI_PB_EVENT_METADATA_TAG,
                         ensi_wire_bytes_size(key.len) + ensi_wire_bytes_size(value.len));
    p = ensi_wire_put_bytes(p, ENSI_PB_EVENT_METADATA_ENTRY_KEY_TAG, key);
    return ensi_wire_put_bytes(p, ENSI_PB_EVENT_METADATA_ENTRY_VALUE_TAG, value);
}

/* ---- messages */

/* message_types.h is of this ensign.h. */
#define SAME_SIZE(lower) \
    typedef char same_size_##lower[sizeof(msg_##lower##_t) == sizeof(ensi_pb_##lower##_t) ? 1 : -1];
SAME_SIZE(group)
SAME_SIZE(group_topic)
SAME_SIZE(group_request)
SAME_SIZE(reset_group_request)

static const pb_msgdesc_t *fields_of(message_kind_t kind)
{
    static const pb_msgdesc_t *const fields[] = { ensi_pb_group_fields, ensi_pb_group_topic_fields,
                                                  ensi_pb_group_request_fields,
                                                  ensi_pb_reset_group_request_fields };
    return fields[kind];
}

bool message_decode(message_kind_t kind, void *message, ensign_slice_t bytes)
{
    return ensi_pb_decode(fields_of(kind), message, bytes.ptr, bytes.len);
}

ensign_slice_t message_encode(message_kind_t kind, const void *message)
{
    const pb_msgdesc_t *fields = fields_of(kind);
    size_t size = 0, len = 0;
    uint8_t *room;

    ensi_pb_size(fields, message, &size);
    room = x_keep(x_realloc(NULL, size + 1));
    ensi_pb_encode(fields, message, room, size, &len);
    return ensi_slice(room, len);
}

bool message_next(ensign_slice_t fields, uint32_t tag, size_t *at, ensign_slice_t *value)
{
    return ensi_pb_span_next(fields, tag, at, value);
}

size_t message_bytes_size(uint32_t tag, size_t len)
{
    return ensi_pb_bytes_size(tag, len);
}

uint8_t *message_put_bytes(uint8_t *p, uint32_t tag, ensign_slice_t value)
{
    return ensi_pb_put_bytes(p, tag, value);
}
