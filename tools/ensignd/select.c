/* select.c - see select.h
 *
 * Holds  `at` stands on a token or at the end: white space behind a token goes with it. There is no token
 *        but in its place: the same letters are a keyword in one, and the name of a field in another.
 *        `room` walks through the memory behind the copy of the query: a field takes its text twice there,
 *        and a value once. */
#include "select.h"
#include "../common/utf8.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX 1000         /* bytes of a number */
#define MIME_JSON 50

typedef struct reader_t {
    ensign_slice_t sql, params;
    size_t        at;
    char         *room;
    msg_parameter_t *read;      /* the parameters; NULL before the first one is asked for */
    size_t        read_count;
    size_t        depth;
    select_t     *select;
    ensql_text_t *error;
} reader_t;

static ensign_slice_t rest(const reader_t *r)
{
    return slice_skip(r->sql, r->at);
}

static bool at_end(const reader_t *r)
{
    return r->at == r->sql.len;
}

static bool stands(const reader_t *r, char c)
{
    return !at_end(r) && r->sql.ptr[r->at] == (uint8_t)c;
}

static void step(reader_t *r, size_t n)
{
    uint32_t rune;

    for (r->at += n; (n = utf8_char(rest(r), &rune)) != 0 && is_space(rune);) r->at += n;
}

static ensign_slice_t text_from(const reader_t *r, size_t start)
{
    return trim(slice_of(r->sql.ptr + start, r->at - start));
}

static ensign_slice_t run_of(ensign_slice_t s, bool (*in)(uint8_t c))
{
    size_t n = 0;
    while (n < s.len && in(s.ptr[n])) n++;
    return slice_of(s.ptr, n);
}

static bool in_number(uint8_t c)
{
    return is_digit(c) || c == '-' || c == '.';
}

/* As the service finds it: a backslash keeps the quote behind it from being the end. 0: there is no end. */
static size_t quoted_size(ensign_slice_t s)
{
    for (size_t i = 1; i < s.len; i++)
        if (s.ptr[i] == s.ptr[0] && s.ptr[i - 1] != '\\') return i + 1;
    return 0;
}

static bool word_is(ensign_slice_t word, const char *text)
{
    return word.len == strlen(text) && begins_with(word, text);
}

/* ---- errors; each of these returns false */

/* What an error names: the word, text, number or operator that stands there, or else one character. */
static ensign_slice_t token(const reader_t *r)
{
    ensign_slice_t s = rest(r), word = run_of(s, in_name);
    uint32_t rune;
    size_t n;

    if (s.len && is_digit(s.ptr[0])) return run_of(s, in_number);
    if (word.len || s.len == 0) return word;
    if (s.ptr[0] == '\'' && (n = quoted_size(s)) != 0) return slice_of(s.ptr + 1, n - 2);
    if (begins_with(s, "!=") || begins_with(s, "<>") || begins_with(s, "<=") || begins_with(s, ">="))
        return slice_of(s.ptr, 2);
    n = utf8_char(s, &rune);
    return slice_of(s.ptr, n ? n : 1);
}

static bool refuse(const reader_t *r, const char *reason)
{
    return syntax_error(r->error, r->at, token(r), reason);
}

static bool wrong(const reader_t *r, const char *text)
{
    snprintf(r->error->text, sizeof r->error->text, "%s", text);
    return false;
}

/* As refuse; what SQL has, and this parser cannot read, is named. */
static bool refuse_clause(const reader_t *r, const char *reason)
{
    static const char *const unsupported[] = { "ORDER", "GROUP", "HAVING", "JOIN", "UNION", "BETWEEN",
                                               "DISTINCT" };
    ensign_slice_t word = run_of(rest(r), in_name);
    char text[40];

    for (size_t i = 0; i < sizeof unsupported / sizeof unsupported[0]; i++) {
        if (!word_is(word, unsupported[i])) continue;
        snprintf(text, sizeof text, "%s is not supported", unsupported[i]);
        return refuse(r, text);
    }
    return refuse(r, reason);
}

/* ---- words and marks */

/* A whole word. */
static bool take_word(reader_t *r, const char *text)
{
    if (!word_is(run_of(rest(r), in_name), text)) return false;
    step(r, strlen(text));
    return true;
}

/* A keyword or a mark where nothing else may stand. */
static bool is_here(const reader_t *r, const char *text)
{
    ensign_slice_t s = rest(r);
    size_t n = strlen(text);

    return begins_with(s, text) || (s.len >= n + 2 && s.ptr[0] == '\'' && s.ptr[n + 1] == '\'' &&
                                    memcmp(s.ptr + 1, text, n) == 0);
}

static bool take(reader_t *r, const char *text)
{
    if (!is_here(r, text)) return false;
    step(r, strlen(text) + (stands(r, '\'') ? 2 : 0));
    return true;
}

/* Words that are no names unless they are quoted. */
static bool is_reserved(ensign_slice_t word)
{
    static const char *const words[] = { "SELECT", "FROM", "WHERE", "AS",   "OFFSET",
                                         "LIMIT",  "AND",  "OR",    "LIKE", "ILIKE" };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (word_is(word, words[i])) return true;
    return false;
}

static ensign_slice_t name_here(const reader_t *r)
{
    ensign_slice_t word = run_of(rest(r), in_name);
    bool is_name = word.len && !is_digit(word.ptr[0]) && word.ptr[0] != '-' && !is_reserved(word);
    return is_name ? word : slice_of(NULL, 0);
}

/* On a quote of any kind: the text up to the next one. */
static bool take_quoted(reader_t *r, ensign_slice_t *out)
{
    size_t n = quoted_size(rest(r));

    if (n == 0) return refuse(r, "quoted string missing closing quote");
    *out = slice_of(r->sql.ptr + r->at + 1, n - 2);
    step(r, n);
    return true;
}

/* Keeps a text, with a NUL behind it; a quote behind a backslash stands for itself. */
static ensign_slice_t keep(reader_t *r, ensign_slice_t s, char mark)
{
    char *start = r->room;

    for (size_t i = 0; i < s.len; i++) {
        if (mark && s.ptr[i] == '\\' && i + 1 < s.len && s.ptr[i + 1] == (uint8_t)mark) i++;
        *r->room++ = (char)s.ptr[i];
    }
    *r->room++ = '\0';
    return slice_of(start, (size_t)(r->room - start) - 1);
}

/* ---- fields */

/* A part of a path, or an alias. `alone`: a keyword is no name there. A name with a zero byte could not be
   told from a shorter one. */
static bool parse_part(reader_t *r, bool alone, const char *reason)
{
    ensign_slice_t word = alone ? name_here(r) : run_of(rest(r), in_name), quoted;
    size_t start = r->at;

    if (word.len) {
        keep(r, word, 0);
        step(r, word.len);
        return true;
    }
    if (!stands(r, '"')) return refuse(r, reason);
    if (!take_quoted(r, &quoted)) return false;
    if (quoted.len && memchr(quoted.ptr, 0, quoted.len))
        return syntax_error(r->error, start, quoted, "a name has no zero byte");
    keep(r, quoted, '"');
    return true;
}

/* field = ["@"] name { "." name } */
static bool parse_field(reader_t *r, field_t *f, const char *reason)
{
    size_t start = r->at;
    bool own = stands(r, '@');

    memset(f, 0, sizeof *f);
    if (own) step(r, 1);
    f->path = r->room;
    do {
        if (!parse_part(r, f->parts == 0 && !own, reason)) return false;
        f->parts++;
    } while (take(r, "."));
    return !own || field_own(f) ||
           syntax_error(r->error, start, text_from(r, start),
                        "an event has no field of this name; ensignd --help lists those that it has");
}

/* Its alias, or its path with points between. */
static void name_field(reader_t *r, field_t *f)
{
    const char *part = f->path;
    char *out = r->room;

    if (f->own != OWN_NONE) *out++ = '@';
    if (f->own == OWN_METADATA) out = strcpy(out, "metadata.") + sizeof "metadata." - 1;
    for (size_t i = 0; i < f->parts; i++, part += strlen(part) + 1) {
        if (i) *out++ = '.';
        memcpy(out, part, strlen(part));
        out += strlen(part);
    }
    *out++ = '\0';
    f->name = r->room;
    r->room = out;
}

static bool parse_alias(reader_t *r, field_t *f)
{
    char *start = r->room;

    if (!parse_part(r, true, "invalid alias identifier")) return false;
    f->name = start;
    r->select->query.alias_count++;
    return true;
}

static field_t *add_field(select_t *s)
{
    field_t *f;

    s->fields = x_realloc(s->fields, (s->query.field_count + 1) * sizeof *s->fields);
    f = &s->fields[s->query.field_count++];
    memset(f, 0, sizeof *f);
    return f;
}

static bool parse_item(reader_t *r)
{
    select_t *s = r->select;
    field_t *f;

    if (is_reserved(run_of(rest(r), in_name))) return wrong(r, "SELECT requires field projection or *");
    if (s->query.field_count == SELECT_FIELDS_MAX) return refuse(r, "a query has 1000 fields at most");
    f = add_field(s);
    if (stands(r, '*')) {
        step(r, 1);
        s->query.all = true;
        return !take(r, "AS") || refuse(r, "cannot alias *");
    }
    if (!parse_field(r, f, "invalid field identifier")) return false;
    if (take(r, "AS")) return parse_alias(r, f);
    name_field(r, f);
    return true;
}

/* ---- parameters */

static bool read_params(reader_t *r)
{
    ensign_slice_t item;
    size_t at = 0;

    if (r->read) return true;
    r->read = x_alloc(SELECT_PARAMS_MAX * sizeof *r->read);
    while (msg_next(r->params, MSG_QUERY_PARAMS_TAG, &at, &item)) {
        if (r->read_count == SELECT_PARAMS_MAX)
            return refuse(r, "a query that names one has 1000 parameters at most");
        if (msg_decode(MSG_PARAMETER, &r->read[r->read_count], item)) r->read_count++;
    }
    return true;
}

/* One that has no value is NULL, which equals nothing. */
static value_t value_of_param(const msg_parameter_t *p)
{
    value_t v;

    memset(&v, 0, sizeof v);
    v.i = p->i;
    v.d = p->d;
    v.b = p->b;
    v.text = p->y.ptr ? p->y : p->s;
    if (p->has_i) v.kind = VALUE_INT;
    else if (p->has_d) v.kind = VALUE_REAL;
    else if (p->has_b) v.kind = VALUE_BOOL;
    else v.kind = v.text.ptr ? VALUE_TEXT : VALUE_NULL;
    return v;
}

/* On a colon. Of several parameters with one name the last one counts. */
static bool parse_param(reader_t *r, value_t *out)
{
    size_t start = r->at;
    ensign_slice_t name;

    step(r, 1);
    name = run_of(rest(r), in_name);
    if (name.len == 0) return refuse(r, "the name of a parameter stands behind the colon");
    if (!read_params(r)) return false;
    step(r, name.len);
    for (size_t i = r->read_count; i-- > 0;) {
        if (!slice_eq(r->read[i].name, name)) continue;
        *out = value_of_param(&r->read[i]);
        return true;
    }
    return syntax_error(r->error, start, text_from(r, start), "no parameter of this name is given");
}

/* ---- values */

static size_t digits(ensign_slice_t s, size_t at)
{
    while (at < s.len && is_digit(s.ptr[at])) at++;
    return at;
}

/* How long the number at the front is; 0: it is no number. *whole: it has neither a point nor an exponent. */
static size_t number_size(ensign_slice_t s, bool *whole)
{
    size_t start = s.ptr[0] == '-', n = digits(s, start), e;

    *whole = true;
    if (n == start) return 0;
    if (n < s.len && s.ptr[n] == '.') {
        *whole = false;
        n = digits(s, n + 1);
    }
    if (n < s.len && (s.ptr[n] == 'e' || s.ptr[n] == 'E')) {
        e = n + 1;
        if (e < s.len && (s.ptr[e] == '+' || s.ptr[e] == '-')) e++;
        if (digits(s, e) > e) {
            *whole = false;
            n = digits(s, e);
        }
    }
    return n < s.len && in_number(s.ptr[n]) ? 0 : n;
}

/* On a digit or a minus. An integer of more than 64 bits is a double. */
static bool parse_number(reader_t *r, value_t *out)
{
    ensign_slice_t s = rest(r);
    bool whole;
    size_t n = number_size(s, &whole);
    const char *text;

    if (n == 0)
        return syntax_error(r->error, r->at, run_of(s, in_number),
                            "this is not a number; text stands in single quotes");
    if (n > NUMBER_MAX) return refuse(r, "a number has 1000 characters at most");
    text = (const char *)keep(r, slice_of(s.ptr, n), 0).ptr;
    memset(out, 0, sizeof *out);
    errno = 0;
    out->kind = VALUE_INT;
    if (whole) out->i = strtoll(text, NULL, 10);
    if (!whole || errno == ERANGE) {
        out->kind = VALUE_REAL;
        out->d = strtod(text, NULL);
    }
    if (out->kind == VALUE_REAL && isinf(out->d)) return refuse(r, "this number is out of range");
    step(r, n);
    return true;
}

static bool parse_truth(reader_t *r, value_t *out)
{
    ensign_slice_t word = run_of(rest(r), in_name);

    if (word_is(word, "NULL")) return refuse(r, "no value equals NULL; write IS NULL or IS NOT NULL");
    if (!is_truth(word))
        return refuse(r, "invalid where clause: a value is 'text', a number, true, false or :parameter");
    memset(out, 0, sizeof *out);
    out->kind = VALUE_BOOL;
    out->b = word.ptr[0] == 't' || word.ptr[0] == 'T';
    step(r, word.len);
    return true;
}

static bool parse_literal(reader_t *r, value_t *out)
{
    ensign_slice_t text;

    if (stands(r, ':')) return parse_param(r, out);
    if (stands(r, '-') || (!at_end(r) && is_digit(r->sql.ptr[r->at]))) return parse_number(r, out);
    if (!stands(r, '\'')) return parse_truth(r, out);
    if (!take_quoted(r, &text)) return false;
    *out = value_of_text(keep(r, text, '\''));
    return true;
}

static bool read_time(value_t *v)
{
    return v->kind == VALUE_NULL || (v->kind == VALUE_TEXT && value_read_time(v->text, v));
}

/* A value of the test at `node`, behind those that it has. */
static bool parse_value(reader_t *r, size_t node)
{
    where_t *w = &r->select->where;
    node_t *n = &w->nodes[node];
    size_t start = r->at, at;
    value_t v;

    if (w->value_count == SELECT_VALUES_MAX) return refuse(r, "the WHERE of a query has 1000 values at most");
    if (!parse_literal(r, &v)) return false;
    if (n->kind != NODE_LIKE && field_is_time(&n->field) && !read_time(&v))
        return syntax_error(r->error, start, text_from(r, start),
                            "this is not a time; write '2026-01-31' or '2026-01-31T12:00:00Z'");
    at = where_add_value(w, v);
    if (n->value_count++ == 0) n->value = at;
    return true;
}

/* ---- WHERE */

static const struct { const char *text; operator_t op; } operators[] = {
    { "!=", OP_UNEQUAL }, { "<>", OP_UNEQUAL }, { ">=", OP_GREATER_EQUAL }, { "<=", OP_LESS_EQUAL },
    { "=", OP_EQUAL }, { ">", OP_GREATER }, { "<", OP_LESS },
};

static bool take_operator(reader_t *r, operator_t *op)
{
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        if (!begins_with(rest(r), operators[i].text)) continue;
        step(r, strlen(operators[i].text));
        *op = operators[i].op;
        return true;
    }
    return false;
}

static bool take_like(reader_t *r, bool *fold)
{
    *fold = begins_with(rest(r), "ILIKE");
    if (!*fold && !begins_with(rest(r), "LIKE")) return false;
    step(r, strlen(*fold ? "ILIKE" : "LIKE"));
    return true;
}

static bool parse_like(reader_t *r, size_t at)
{
    where_t *w = &r->select->where;
    size_t start = r->at;
    const char *why;
    value_t v;

    w->nodes[at].kind = NODE_LIKE;
    if (!parse_value(r, at)) return false;
    v = w->values[w->nodes[at].value];
    if (v.kind != VALUE_TEXT) return true;      /* is never like anything */
    why = pattern_set(&w->nodes[at], v.text);
    return !why || syntax_error(r->error, start, text_from(r, start), why);
}

static bool parse_in(reader_t *r, size_t at)
{
    r->select->where.nodes[at].kind = NODE_IN;
    if (!take(r, "(")) return refuse(r, "the values of IN stand in parentheses");
    do {
        if (!parse_value(r, at)) return false;
    } while (take(r, ","));
    return take(r, ")") || refuse(r, "the values of IN have commas between them and ) at the end");
}

static bool parse_is(reader_t *r, size_t at)
{
    node_t *n = &r->select->where.nodes[at];
    value_t null;

    memset(&null, 0, sizeof null);
    n->kind = NODE_IS_NULL;
    n->inverse = take_word(r, "NOT");
    if (!take_word(r, "NULL")) return refuse(r, "NULL or NOT NULL stands behind IS");
    if (r->select->where.value_count == SELECT_VALUES_MAX)
        return refuse(r, "the WHERE of a query has 1000 values at most");
    where_add_value(&r->select->where, null);
    return true;
}

static bool parse_test(reader_t *r, size_t *out)
{
    where_t *w = &r->select->where;
    field_t field;
    node_t *n;

    if (!parse_field(r, &field, "invalid where clause: a condition begins with the name of a field"))
        return false;
    *out = where_add_node(w, NODE_COMPARE);
    n = &w->nodes[*out];
    n->field = field;
    r->select->query.test_count++;
    if (take_operator(r, &n->op)) return parse_value(r, *out);
    if (take_word(r, "IS")) return parse_is(r, *out);
    n->inverse = take_word(r, "NOT");
    if (take_word(r, "IN")) return parse_in(r, *out);
    if (take_like(r, &n->fold)) return parse_like(r, *out);
    return refuse_clause(r, "invalid where clause: an operator stands behind a field");
}

/* NOT is a field where an operator follows it, as in the service. */
static bool is_not(const reader_t *r)
{
    reader_t ahead = *r;
    operator_t op;
    bool fold, value;

    if (!take_word(&ahead, "NOT")) return false;
    if (take_operator(&ahead, &op)) return false;
    if (!take_like(&ahead, &fold)) return true;
    value = stands(&ahead, '\'') || stands(&ahead, ':') || stands(&ahead, '-') ||
            (!at_end(&ahead) && is_digit(ahead.sql.ptr[ahead.at])) ||
            is_truth(run_of(rest(&ahead), in_name));
    return !value;
}

static bool parse_any(reader_t *r, size_t *out);

static bool ends_here(const reader_t *r)
{
    return at_end(r) || is_here(r, ";") || is_here(r, "LIMIT") || is_here(r, "OFFSET");
}

/* Behind the opening one. There may be nothing behind it, and no closing one at the end. */
static bool parse_parentheses(reader_t *r, size_t *out)
{
    *out = 0;
    if (at_end(r)) return true;
    if (r->depth == SELECT_DEPTH_MAX) return refuse(r, "parentheses stand in each other 64 times at most");
    r->depth++;
    if (!parse_any(r, out)) return false;
    r->depth--;
    return take(r, ")") || ends_here(r) ||
           refuse_clause(r, "invalid where clause: AND, OR or ) stands behind a condition");
}

static bool parse_one(reader_t *r, size_t *out)
{
    bool negated = false;

    for (; is_not(r); negated = !negated) take_word(r, "NOT");
    if (take(r, "(") ? !parse_parentheses(r, out) : !parse_test(r, out)) return false;
    if (*out && negated) r->select->where.nodes[*out].negated = !r->select->where.nodes[*out].negated;
    return true;
}

static bool at_order_by(const reader_t *r)
{
    reader_t ahead = *r;
    return take_word(&ahead, "ORDER") && take_word(&ahead, "BY");
}

/* One part or more, with the word between them. A part that is nothing is left out. */
static bool parse_group(reader_t *r, node_kind_t kind, const char *word,
                        bool (*parse_part_of)(reader_t *r, size_t *out), size_t *out)
{
    where_t *w = &r->select->where;
    size_t group = 0, last = 0, part;

    *out = 0;
    do {
        if (!parse_part_of(r, &part)) return false;
        if (!part) continue;
        if (last && !group) {
            group = where_add_node(w, kind);
            w->nodes[group].first = last;
        }
        if (last) w->nodes[last].next = part;
        last = part;
        *out = group ? group : part;
    } while (!at_order_by(r) && take(r, word));
    return true;
}

static bool parse_all(reader_t *r, size_t *out)
{
    return parse_group(r, NODE_AND, "AND", parse_one, out);
}

static bool parse_any(reader_t *r, size_t *out)
{
    return parse_group(r, NODE_OR, "OR", parse_all, out);
}

/* ---- what follows */

static bool parse_end(reader_t *r)
{
    while (take(r, ";")) {}
    return at_end(r) || refuse(r, "only ; may follow the end of the query");
}

typedef struct paging_words_t { const char *none, *twice, *unread, *after; } paging_words_t;
static const paging_words_t words_of_offset = { "invalid offset", "offset has already been set",
                                                "could not parse offset", "invalid offset clause" };
static const paging_words_t words_of_limit = { "invalid limit", "limit has already been set",
                                               "could not parse limit", "invalid limit clause" };

static bool parse_count(reader_t *r, const paging_words_t *words, uint64_t *out)
{
    ensign_slice_t number = run_of(rest(r), in_number);
    size_t start = r->at;
    value_t v;

    if (stands(r, ':')) {
        if (!parse_param(r, &v)) return false;
        *out = (uint64_t)v.i;
        return (v.kind == VALUE_INT && v.i >= 0) ||
               syntax_error(r->error, start, text_from(r, start), words->unread);
    }
    if (number.len == 0 || number.ptr[0] == '.') return refuse(r, words->none);
    if (!read_digits(number, 10, UINT64_MAX, out))
        return syntax_error(r->error, start, number, words->unread);
    step(r, number.len);
    return true;
}

static bool parse_paging(reader_t *r)
{
    ensql_query_t *q = &r->select->query;

    for (;;) {
        bool limit = is_here(r, "LIMIT"), *has = limit ? &q->has_limit : &q->has_offset;
        const paging_words_t *words = limit ? &words_of_limit : &words_of_offset;

        take(r, limit ? "LIMIT" : "OFFSET");
        if (*has) return refuse(r, words->twice);
        if (!parse_count(r, words, limit ? &q->limit : &q->offset)) return false;
        *has = true;
        if (at_end(r) || is_here(r, ";")) return parse_end(r);
        if (!is_here(r, limit ? "OFFSET" : "LIMIT")) return refuse_clause(r, words->after);
    }
}

static bool parse_where(reader_t *r)
{
    select_t *s = r->select;
    size_t start = r->at;

    if (!parse_any(r, &s->where.root)) return false;
    s->query.where = text_from(r, start);
    if (at_end(r) || is_here(r, ";")) return parse_end(r);
    if (ends_here(r)) return parse_paging(r);
    if (is_here(r, ")")) return refuse(r, "cannot close expression parentheses");
    return refuse_clause(r, "invalid where clause: AND or OR stands between two conditions");
}

static bool parse_tail(reader_t *r)
{
    if (at_end(r) || is_here(r, ";")) return parse_end(r);
    if (take(r, "WHERE")) return parse_where(r);
    return ends_here(r) ? parse_paging(r) : refuse_clause(r, "invalid from clause");
}

static bool parse_version(reader_t *r)
{
    ensign_slice_t number = run_of(rest(r), in_number);

    if (number.len == 0 || number.ptr[0] == '.') return refuse(r, "invalid version identifier");
    if (!read_version(number, &r->select->query.version))
        return syntax_error(r->error, r->at, number, "could not parse schema version");
    step(r, number.len);
    return parse_tail(r);
}

static bool parse_schema(reader_t *r)
{
    bool any = stands(r, '*');
    ensign_slice_t name = any ? slice_of(rest(r).ptr, 1) : name_here(r);

    if (name.len == 0) return refuse(r, "invalid schema identifier");
    r->select->query.schema = name;
    step(r, name.len);
    if (!is_here(r, ".")) return parse_tail(r);
    if (any) return refuse(r, "cannot specify version for * schema");
    take(r, ".");
    return at_end(r) || parse_version(r);
}

static bool parse_from(reader_t *r)
{
    bool is_quoted = stands(r, '\'') || stands(r, '"') || stands(r, '`');
    ensign_slice_t name = name_here(r);

    if (is_quoted && !take_quoted(r, &name)) return false;
    if (!is_quoted && name.len == 0) return refuse(r, "invalid topic identifier");
    if (!is_quoted) step(r, name.len);
    r->select->query.topic = name;
    if (!take(r, ".")) return parse_tail(r);
    return at_end(r) || parse_schema(r);
}

/* ---- the query */

static bool refuse_items(const reader_t *r)
{
    const select_t *s = r->select;
    const field_t *last = &s->fields[s->query.field_count - 1];
    bool distinct = last->name && word_is(slice_text(last->name), "DISTINCT");

    if (stands(r, '(')) return refuse(r, "invalid select fields statement: functions are not supported");
    if (distinct) return refuse(r, "invalid select fields statement: DISTINCT is not supported");
    return refuse(r, "invalid select fields statement");
}

static bool parse_select(reader_t *r)
{
    size_t start;

    if (!begins_with(rest(r), "SELECT")) return refuse(r, "invalid query type");
    step(r, strlen("SELECT"));
    start = r->at;
    do {
        if (at_end(r)) return wrong(r, "topic name cannot be empty");
        if (!parse_item(r)) return false;
    } while (take(r, ","));
    r->select->query.fields = text_from(r, start);
    return take(r, "FROM") ? parse_from(r) : refuse_items(r);
}

static void take_copies(reader_t *r, ensign_slice_t sql, ensign_slice_t params)
{
    char *m = x_alloc(3 * sql.len + params.len + 64);

    r->select->memory = m;
    if (sql.len) memcpy(m, sql.ptr, sql.len);
    if (params.len) memcpy(m + sql.len, params.ptr, params.len);
    r->sql = slice_of(m, sql.len);
    r->params = slice_of(m + sql.len, params.len);
    r->room = m + sql.len + params.len;
}

static bool parse(reader_t *r)
{
    const ensql_query_t *q = &r->select->query;

    if (r->sql.len == 0) return wrong(r, "empty query is invalid");
    if (!parse_select(r)) return false;
    if (q->topic.len == 0) return wrong(r, "topic name cannot be empty");
    return !q->all || q->field_count == 1 || wrong(r, "cannot select * and specify fields");
}

bool select_parse(ensign_slice_t sql, ensign_slice_t params, select_t *s, ensql_text_t *error)
{
    reader_t r;
    bool ok;

    memset(s, 0, sizeof *s);
    memset(&r, 0, sizeof r);
    error->text[0] = '\0';
    r.select = s;
    r.error = error;
    if (sql.len == 0 || !memchr(sql.ptr, ':', sql.len)) params.len = 0;     /* none is named */
    if (sql.len > SELECT_BYTES_MAX || params.len > SELECT_BYTES_MAX - sql.len)
        return wrong(&r, "a query and its parameters have 1048576 bytes at most");
    take_copies(&r, trim(sql), params);
    ok = parse(&r);
    free(r.read);
    if (!ok) select_free(s);
    return ok;
}

bool select_is_plain(const select_t *s)
{
    return s->query.all && s->where.root == 0;
}

bool select_takes(const select_t *s, view_t *v)
{
    return where_holds(&s->where, v) && (s->query.all || view_is_json(v));
}

void select_free(select_t *s)
{
    where_free(&s->where);
    free(s->fields);
    free(s->memory);
    memset(s, 0, sizeof *s);
}

/* ---- a list of fields */

/* What writing a value takes, and a fraction more than that, in bytes looked at. */
#define VALUE_WORK 16
#define FRACTION_WORK 400

static bool refuse_row(view_t *v)
{
    v->refused = "its row would have more than 4 MiB; name fewer fields";
    return false;
}

static bool is_told_by(double d, size_t digit_count)
{
    char text[40];

    snprintf(text, sizeof text, "%.*g", (int)digit_count, d);
    return strtod(text, NULL) == d;
}

/* Fractions get as few digits as tell them from all others: raises *digit_count to what those in `j` need. As
   deep as Jansson lets JSON be: 2048 levels. False: the view is refused. */
static bool count_digits(view_t *v, json_t *j, size_t *digit_count)
{
    const char *key;
    json_t *item;
    size_t i;

    if (!view_work(v, json_is_real(j) ? FRACTION_WORK : VALUE_WORK)) return false;
    while (json_is_real(j) && *digit_count < 17 && !is_told_by(json_real_value(j), *digit_count))
        ++*digit_count;
    json_array_foreach(j, i, item)
        if (!count_digits(v, item, digit_count)) return false;
    json_object_foreach(j, key, item)
        if (!count_digits(v, item, digit_count)) return false;
    return true;
}

/* What the event itself has is copied: no more of it than fits in a row. */
static bool gather(const select_t *s, view_t *v, json_t *o)
{
    size_t copied = 0;

    for (size_t i = 0; i < s->query.field_count; i++) {
        const field_t *f = &s->fields[i];
        json_t *x = view_json(v, f);

        if (f->own != OWN_NONE) copied += json_string_length(x);
        json_object_set_new(o, f->name, x);
        if (v->refused) return false;
        if (copied > SELECT_ROW_MAX) return refuse_row(v);
    }
    return true;
}

/* For json_dump_callback, which stops at -1. */
static int put_text(const char *text, size_t len, void *to)
{
    buf_t *out = to;

    if (len > SELECT_ROW_MAX - buf_len(out)) return -1;
    buf_put(out, text, len);
    return 0;
}

static bool write_object(const select_t *s, view_t *v, buf_t *out)
{
    json_t *o = json_object();
    size_t digit_count = 15;
    bool ok = gather(s, v, o) && count_digits(v, o, &digit_count);

    if (ok && json_dump_callback(o, put_text, out, JSON_COMPACT | JSON_REAL_PRECISION(digit_count)) != 0)
        ok = refuse_row(v);
    json_decref(o);
    return ok;
}

bool select_project(const select_t *s, view_t *v, buf_t *out)
{
    msg_event_wrapper_t w = *v->wrapper;
    msg_event_t e = v->event;
    buf_t text = { NULL, 0, 0, 0 }, event = { NULL, 0, 0, 0 };
    bool ok = write_object(s, v, &text);
    size_t size = 0;

    e.data = buf_bytes(&text);
    e.mimetype = MIME_JSON;
    e.has_type = false;                 /* the object is no longer of it */
    if (ok && msg_put(&event, MSG_EVENT, &e)) {
        w.event = buf_bytes(&event);
        ok = (msg_size(MSG_EVENT_WRAPPER, &w, &size) && size <= SELECT_ROW_MAX) || refuse_row(v);
        if (ok) msg_put(out, MSG_EVENT_WRAPPER, &w);
    }
    buf_free(&text);
    buf_free(&event);
    return ok;
}
