/* lib.c - the library, compiled once for all files of this program; and what reads JSON by the library's own
 * readers */
#define _POSIX_C_SOURCE 200809L
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#include "text.h"

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
