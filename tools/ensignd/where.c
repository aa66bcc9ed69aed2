/* where.c - see where.h */
#define _GNU_SOURCE             /* memmem */
#include "where.h"
#include "../common/utf8.h"
#include <stdlib.h>
#include <string.h>

/* In a pattern that is ready; no UTF-8 has these bytes. */
#define ANY_TEXT 0xfe
#define ANY_CHAR 0xff

/* Elements of a part that is searched for with one bit for each. A longer part is left to memmem, which
   knows no _. */
#define SEARCHED_MAX 64

/* memmem is linear, but may look at a byte several times: so many bytes of the other search take as long. */
#define MEMMEM_WORK 4

/* ---- LIKE */

static uint8_t fold_byte(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
}

/* The first part goes to its first %, or to the end. */
static ensign_slice_t first_part(ensign_slice_t compiled)
{
    const uint8_t *end = compiled.len ? memchr(compiled.ptr, ANY_TEXT, compiled.len) : NULL;
    return end ? slice_of(compiled.ptr, (size_t)(end - compiled.ptr)) : compiled;
}

static ensign_slice_t behind(ensign_slice_t s, size_t n)
{
    return n ? slice_of(s.ptr + n, s.len - n) : s;
}

static bool has_any_char(ensign_slice_t part)
{
    return part.len && memchr(part.ptr, ANY_CHAR, part.len);
}

static bool parts_are_short(ensign_slice_t rest)
{
    for (;;) {
        ensign_slice_t part = first_part(rest);
        if (part.len == rest.len) return true;          /* the last one: tried at the end alone */
        if (part.len > SEARCHED_MAX && has_any_char(part)) return false;
        rest = behind(rest, part.len + 1);
    }
}

/* Returns how long it is then. */
static size_t compile(ensign_slice_t pattern, bool fold, uint8_t *out)
{
    size_t n = 0;

    for (size_t i = 0; i < pattern.len; i++) {
        uint8_t c = pattern.ptr[i];
        bool escaped = c == '\\' && i + 1 < pattern.len && memchr("%_\\", pattern.ptr[i + 1], 3);
        if (escaped) c = pattern.ptr[++i];
        else if (c == '%') c = ANY_TEXT;
        else if (c == '_') c = ANY_CHAR;
        out[n++] = fold ? fold_byte(c) : c;
    }
    return n;
}

const char *pattern_set(node_t *n, ensign_slice_t pattern)
{
    ensign_slice_t compiled, first;

    if (!utf8_valid(pattern)) return "a pattern is text in UTF-8";
    if (pattern.len > PATTERN_MAX) return "a pattern has 4096 bytes at most";
    n->pattern = x_alloc(pattern.len);
    n->pattern_len = compile(pattern, n->fold, n->pattern);
    compiled = slice_of(n->pattern, n->pattern_len);
    first = first_part(compiled);
    if (first.len == compiled.len || parts_are_short(behind(compiled, first.len + 1))) return NULL;
    return "between two %, a part of a pattern with _ in it has 64 bytes at most";
}

static bool is_inner(uint8_t c)
{
    return (c & 0xc0) == 0x80;
}

/* How much of the front of `text` the part takes; false: it does not match there. */
static bool match_front(ensign_slice_t part, ensign_slice_t text, size_t *taken)
{
    size_t at = 0;

    for (size_t i = 0; i < part.len; i++) {
        if (at == text.len) return false;
        if (part.ptr[i] != ANY_CHAR) {
            if (part.ptr[i] != text.ptr[at++]) return false;
            continue;
        }
        at++;
        while (at < text.len && is_inner(text.ptr[at])) at++;
    }
    *taken = at;
    return true;
}

/* The last part: as many characters from the end as it has. */
static bool match_end(ensign_slice_t part, ensign_slice_t text)
{
    size_t at = text.len, taken;

    for (size_t i = part.len; i-- > 0;) {
        if (at == 0) return false;
        at--;
        while (part.ptr[i] == ANY_CHAR && at > 0 && is_inner(text.ptr[at])) at--;
    }
    return match_front(part, behind(text, at), &taken) && at + taken == text.len;
}

/* What one LIKE uses while it runs. */
typedef struct search_t {
    uint64_t elements[256];     /* which elements of the part each byte is; 0 between two searches */
    size_t   work;              /* bytes looked at */
} search_t;

/* Bit i of `state` is set when elements 0 to i match what ends at the byte that was read last. Each byte of
   the text is read once. The inner bytes of a character belong to the _ that took its first byte. */
static bool search_bits(search_t *s, ensign_slice_t part, ensign_slice_t text, size_t *end)
{
    uint64_t any = 0, state = 0, whole = (uint64_t)1 << (part.len - 1);
    size_t at = 0;

    for (size_t i = 0; i < part.len; i++) {
        if (part.ptr[i] == ANY_CHAR) any |= (uint64_t)1 << i;
        else s->elements[part.ptr[i]] |= (uint64_t)1 << i;
    }
    while (at < text.len && !(state & whole)) {
        uint8_t c = text.ptr[at++];
        uint64_t begun = (state << 1) | 1, kept = is_inner(c) ? state & any : 0;
        state = (begun & (s->elements[c] | (is_inner(c) ? any & ~(any << 1) : any))) | kept;
    }
    s->work += at;
    if (any & whole)
        while (at < text.len && is_inner(text.ptr[at])) at++;
    for (size_t i = 0; i < part.len; i++) s->elements[part.ptr[i]] = 0;
    *end = at;
    return (state & whole) != 0;
}

static bool search_memory(search_t *s, ensign_slice_t part, ensign_slice_t text, size_t *end)
{
    const uint8_t *at = text.len ? memmem(text.ptr, text.len, part.ptr, part.len) : NULL;

    *end = at ? (size_t)(at - text.ptr) + part.len : text.len;
    s->work += MEMMEM_WORK * *end;
    return at != NULL;
}

/* Anywhere, as far in front as possible. *end is where the match ends. */
static bool search(search_t *s, ensign_slice_t part, ensign_slice_t text, size_t *end)
{
    s->work += part.len + 1;
    *end = 0;
    if (part.len == 0) return true;
    return part.len > SEARCHED_MAX ? search_memory(s, part, text, end) : search_bits(s, part, text, end);
}

static bool match(search_t *s, ensign_slice_t pattern, ensign_slice_t text)
{
    ensign_slice_t part = first_part(pattern);
    size_t taken = 0;

    if (!match_front(part, text, &taken)) return false;
    if (part.len == pattern.len) return taken == text.len;
    for (;;) {
        text = behind(text, taken);
        pattern = behind(pattern, part.len + 1);
        part = first_part(pattern);
        if (part.len == pattern.len) return match_end(part, text);
        if (!search(s, part, text, &taken)) return false;
    }
}

bool pattern_matches(const node_t *n, ensign_slice_t text, size_t *work)
{
    ensign_slice_t pattern = slice_of(n->pattern, n->pattern_len);
    uint8_t *copy = n->fold ? x_alloc(text.len) : NULL;
    search_t s;
    bool matches;

    memset(&s, 0, sizeof s);
    for (size_t i = 0; copy && i < text.len; i++) copy[i] = fold_byte(text.ptr[i]);
    if (copy) s.work += text.len;
    matches = match(&s, pattern, copy ? slice_of(copy, text.len) : text);
    free(copy);
    *work = s.work;
    return matches;
}

/* ---- the tree */

size_t where_add_node(where_t *w, node_kind_t kind)
{
    size_t at = w->node_count ? w->node_count : 1;      /* 0 is no node */

    w->nodes = x_realloc(w->nodes, (at + 1) * sizeof *w->nodes);
    memset(&w->nodes[at], 0, sizeof w->nodes[at]);
    w->nodes[at].kind = kind;
    w->node_count = at + 1;
    return at;
}

size_t where_add_value(where_t *w, value_t v)
{
    w->values = x_realloc(w->values, (w->value_count + 1) * sizeof *w->values);
    w->values[w->value_count] = v;
    return w->value_count++;
}

void where_free(where_t *w)
{
    for (size_t i = 1; i < w->node_count; i++) free(w->nodes[i].pattern);
    free(w->nodes);
    free(w->values);
    memset(w, 0, sizeof *w);
}

static bool is_ordered(operator_t op, int order)
{
    switch (op) {
    case OP_EQUAL: return order == 0;
    case OP_UNEQUAL: return order != 0;
    case OP_LESS: return order < 0;
    case OP_LESS_EQUAL: return order <= 0;
    case OP_GREATER: return order > 0;
    case OP_GREATER_EQUAL: return order >= 0;
    }
    return false;
}

static bool is_among(const where_t *w, const node_t *n, const value_t *x)
{
    bool comparable = false;
    int order;

    for (size_t i = 0; i < n->value_count; i++) {
        if (!value_compare(x, &w->values[n->value + i], &order)) continue;
        if (order == 0) return !n->inverse;
        comparable = true;
    }
    return n->inverse && comparable;
}

static bool is_like(const node_t *n, const value_t *x, view_t *v)
{
    size_t work;
    bool matches = pattern_matches(n, x->text, &work);

    view_work(v, work);
    return matches != n->inverse;
}

static bool test(const where_t *w, const node_t *n, view_t *v)
{
    value_t x = view_value(v, &n->field);
    const value_t *value = n->value_count ? &w->values[n->value] : NULL;
    int order;

    switch (n->kind) {
    case NODE_COMPARE: return value_compare(&x, value, &order) && is_ordered(n->op, order);
    case NODE_LIKE:
        return x.kind == VALUE_TEXT && value->kind == VALUE_TEXT && is_like(n, &x, v);
    case NODE_IN: return is_among(w, n, &x);
    case NODE_IS_NULL: return (x.kind == VALUE_NULL) != n->inverse;
    case NODE_AND:
    case NODE_OR: break;
    }
    return false;
}

/* As deep as parentheses are nested: the parser sets a bound. */
static bool holds(const where_t *w, size_t at, view_t *v)
{
    const node_t *n = &w->nodes[at];
    bool all = n->kind == NODE_AND, is = all;

    if (v->refused) return false;
    if (n->kind != NODE_AND && n->kind != NODE_OR) return test(w, n, v) != n->negated;
    for (size_t part = n->first; part && is == all; part = w->nodes[part].next) is = holds(w, part, v);
    return is != n->negated;
}

bool where_holds(const where_t *w, view_t *v)
{
    return w->root == 0 || (holds(w, w->root, v) && !v->refused);
}
