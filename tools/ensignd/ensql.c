/* ensql.c - see ensql.h
 *
 * Holds  `at` stands on a token or at the end: white space behind a token goes with it. An error's position
 *        is `at`, which for some is behind the token that it names: clients see it, so it must be as it is.
 *        An unfinished quotation is noted wherever it is met, and told only if nothing else is wrong. */
#include "ensql.h"
#include "../common/utf8.h"
#include <stdio.h>
#include <string.h>

#define UNFINISHED_SHOWN 5      /* bytes of a quotation without end that are shown */

typedef enum { T_END, T_KEYWORD, T_OPERATOR, T_ASTERISK, T_MARK, T_NAME, T_QUOTED, T_NUMBER, T_TRUTH } kind_t;

typedef struct token_t {
    kind_t  kind;
    ensign_slice_t text;               /* keywords in upper case, quoted strings without their quotes */
    size_t  len;                /* bytes of the query */
} token_t;

typedef struct parser_t {
    ensign_slice_t        sql;
    size_t         at;
    bool           unfinished;  /* a quotation, and where it begins */
    size_t         unfinished_at;
    ensql_query_t *query;
    ensql_text_t  *error;
    ensql_result_t result;
} parser_t;

/* ---- tokens */

static const struct { const char *text; kind_t kind; } reserved[] = {
    { "SELECT", T_KEYWORD }, { "FROM", T_KEYWORD }, { "WHERE", T_KEYWORD }, { "AS", T_KEYWORD },
    { "OFFSET", T_KEYWORD }, { "LIMIT", T_KEYWORD }, { "=", T_OPERATOR }, { "!=", T_OPERATOR },
    { "<>", T_OPERATOR }, { ">=", T_OPERATOR }, { "<=", T_OPERATOR }, { ">", T_OPERATOR },
    { "<", T_OPERATOR }, { "AND", T_OPERATOR }, { "OR", T_OPERATOR }, { "LIKE", T_OPERATOR },
    { "ILIKE", T_OPERATOR }, { "*", T_ASTERISK }, { ",", T_MARK }, { ".", T_MARK }, { "(", T_MARK },
    { ")", T_MARK }, { ";", T_MARK },
};

static ensign_slice_t rest(const parser_t *p)
{
    return slice_skip(p->sql, p->at);
}

/* What has been read from there on. */
static ensign_slice_t text_from(const parser_t *p, size_t start)
{
    return trim(slice_of(p->sql.ptr + start, p->at - start));
}

static bool at_end(const parser_t *p)
{
    return p->at == p->sql.len;
}

static bool in_number(uint8_t c)
{
    return is_digit(c) || c == '-' || c == '.';
}

static token_t token(kind_t kind, ensign_slice_t text, size_t len)
{
    token_t t = { kind, text, len };
    return t;
}

static token_t run_of(ensign_slice_t s, kind_t kind, bool (*in)(uint8_t c))
{
    size_t n = 0;
    while (n < s.len && in(s.ptr[n])) n++;
    return token(kind, slice_of(s.ptr, n), n);
}

/* A backslash keeps the quote behind it from ending the string, and stays in it. */
static token_t quoted(parser_t *p)
{
    ensign_slice_t s = rest(p);

    for (size_t i = 1; i < s.len; i++)
        if (s.ptr[i] == '\'' && s.ptr[i - 1] != '\\')
            return token(T_QUOTED, slice_of(s.ptr + 1, i - 1), i + 1);
    p->unfinished = true;
    p->unfinished_at = p->at;
    return token(T_END, slice_of(NULL, 0), s.len);
}

/* A name without any bytes: something that is no token begins here. */
static token_t peek(parser_t *p)
{
    ensign_slice_t s = rest(p);
    token_t name;

    if (s.len == 0) return token(T_END, slice_of(NULL, 0), 0);
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        if (begins_with(s, reserved[i].text))
            return token(reserved[i].kind, slice_text(reserved[i].text), strlen(reserved[i].text));
    if (s.ptr[0] == '\'') return quoted(p);
    if (s.ptr[0] == '-' || is_digit(s.ptr[0])) return run_of(s, T_NUMBER, in_number);
    name = run_of(s, T_NAME, in_name);
    if (is_truth(name.text)) name.kind = T_TRUTH;
    return name;
}

static token_t pop(parser_t *p)
{
    token_t t = peek(p);
    p->at += t.len;
    while (!at_end(p) && is_space(p->sql.ptr[p->at])) p->at++;
    return t;
}

static bool is(token_t t, const char *text)
{
    return slice_is(t.text, text);
}

/* Nothing more is expected: the end, or a semicolon, or what is no token. */
static bool ends(token_t t)
{
    return t.text.len == 0 || is(t, ";");
}

/* ---- errors; each of these returns false */

static bool wrong(parser_t *p, const char *text)
{
    snprintf(p->error->text, sizeof p->error->text, "%s", text);
    p->result = ENSQL_ERROR;
    return false;
}

static bool syntax(parser_t *p, size_t at, ensign_slice_t near, const char *reason)
{
    p->result = ENSQL_ERROR;
    return syntax_error(p->error, at, near, reason);
}

static bool refuse(parser_t *p, token_t t, const char *reason)
{
    return syntax(p, p->at, t.text, reason);
}

static bool crash(parser_t *p)
{
    ensign_slice_t s = rest(p);
    uint32_t rune;
    token_t t = peek(p);
    size_t n = t.len ? t.len : utf8_char(s, &rune);

    syntax(p, p->at, slice_of(s.ptr, n ? n : 1),
           t.len ? "only ; may follow the end of the query"
                 : "unexpected character; names stand without quotes");
    p->result = ENSQL_CRASH;
    return false;
}

/* ---- the parts of a query; each returns whether to go on, and stands on the first token of the next */

static bool finish(parser_t *p)
{
    while (!at_end(p)) {
        token_t t = peek(p);
        if (!is(t, ";") && t.kind != T_END) return crash(p);
        pop(p);
    }
    return true;
}

typedef struct paging_t { const char *other, *none, *twice, *unread, *after; } paging_t;
static const paging_t offset_words = { "LIMIT", "invalid offset", "offset has already been set",
                                       "could not parse offset", "invalid offset clause" };
static const paging_t limit_words = { "OFFSET", "invalid limit", "limit has already been set",
                                      "could not parse limit", "invalid limit clause" };

static bool parse_paging(parser_t *p)
{
    for (;;) {
        bool limit = is(pop(p), "LIMIT");
        const paging_t *words = limit ? &limit_words : &offset_words;
        bool *has = limit ? &p->query->has_limit : &p->query->has_offset;
        token_t t = peek(p);

        if (t.kind != T_NUMBER) return refuse(p, t, words->none);
        if (*has) return refuse(p, t, words->twice);
        if (!read_digits(t.text, 10, UINT64_MAX, limit ? &p->query->limit : &p->query->offset))
            return refuse(p, t, words->unread);
        *has = true;
        pop(p);
        t = peek(p);
        if (ends(t)) return finish(p);
        if (!is(t, words->other)) return refuse(p, t, words->after);
    }
}

/* name operator value. The last two errors name a token that is behind them. */
static bool parse_test(parser_t *p)
{
    token_t t = pop(p);

    if (t.kind != T_NAME)
        return refuse(p, t, "where clause predicates expressions must start with an identifier");
    t = peek(p);
    if (t.kind != T_OPERATOR) return refuse(p, t, "invalid where clause");
    pop(p);
    if (is(t, "AND") || is(t, "OR"))
        return refuse(p, t, "where clause expressions require comparison operators");
    t = peek(p);
    if (t.kind != T_QUOTED && t.kind != T_NUMBER && t.kind != T_TRUTH)
        return refuse(p, t, "invalid where clause");
    pop(p);
    p->query->test_count++;
    return true;
}

/* In front of a test: one parenthesis, or none. */
static bool parse_opening(parser_t *p, size_t *depth)
{
    token_t t = peek(p);

    if (is(t, "(")) {
        pop(p);
        ++*depth;
        return true;
    }
    return t.kind == T_NAME || refuse(p, t, "invalid where clause");
}

/* Behind a test: as many parentheses as there are. */
static bool parse_closings(parser_t *p, size_t *depth)
{
    static const char expected[] = "parser has reached an unhandled state: expected \")\" but received ";
    bool closed = false;
    char shown[NEAR_TEXT], text[sizeof expected + sizeof shown];
    token_t t;

    while (is(t = peek(p), ")")) {
        pop(p);
        if ((*depth)-- == 0) return refuse(p, t, "cannot close expression parentheses");
        closed = true;
    }
    if (ends(t) || is(t, "AND") || is(t, "OR") || is(t, "OFFSET") || is(t, "LIMIT")) return true;
    pop(p);
    if (!closed) return refuse(p, t, "cannot append or update condition in group");
    quote(t.text, shown);
    snprintf(text, sizeof text, "%s%s", expected, shown);
    return wrong(p, text);
}

static bool parse_where(parser_t *p)
{
    size_t depth = 0, start;
    token_t t;

    pop(p);
    start = p->at;
    for (;;) {
        if (!parse_opening(p, &depth)) return false;
        p->query->where = text_from(p, start);
        if (at_end(p)) return true;     /* behind a parenthesis, and the service lets it be */
        if (!parse_test(p) || !parse_closings(p, &depth)) return false;
        p->query->where = text_from(p, start);
        t = peek(p);
        if (ends(t)) return finish(p);
        if (is(t, "OFFSET") || is(t, "LIMIT")) return parse_paging(p);
        pop(p);
        if (t.kind != T_OPERATOR) return refuse(p, t, "where clause predicates require logical operators");
    }
}

/* What follows the topic, or its schema, or its version. */
static bool parse_tail(parser_t *p)
{
    token_t t = peek(p);

    if (ends(t)) return finish(p);
    if (is(t, "WHERE")) return parse_where(p);
    if (is(t, "OFFSET") || is(t, "LIMIT")) return parse_paging(p);
    return refuse(p, t, "invalid from clause");
}

static bool parse_version(parser_t *p)
{
    token_t t = peek(p);

    if (t.kind != T_NUMBER) return refuse(p, t, "invalid version identifier");
    if (!read_version(t.text, &p->query->version)) return refuse(p, t, "could not parse schema version");
    pop(p);
    return parse_tail(p);
}

static bool parse_schema(parser_t *p)
{
    token_t t = peek(p), next;

    if (t.kind != T_NAME && t.kind != T_ASTERISK) return refuse(p, t, "invalid schema identifier");
    p->query->schema = t.text;
    pop(p);
    next = peek(p);
    if (!is(next, ".")) return parse_tail(p);
    if (t.kind == T_ASTERISK) return refuse(p, next, "cannot specify version for * schema");
    pop(p);
    return at_end(p) || parse_version(p);
}

static bool parse_from(parser_t *p)
{
    token_t t;

    pop(p);
    t = peek(p);
    if (t.kind != T_NAME) return refuse(p, t, "invalid topic identifier");
    p->query->topic = t.text;
    pop(p);
    if (!is(peek(p), ".")) return parse_tail(p);
    pop(p);
    return at_end(p) || parse_schema(p);
}

static bool parse_alias(parser_t *p, token_t field)
{
    token_t t;

    pop(p);
    t = peek(p);
    if (t.kind != T_NAME) return refuse(p, t, "invalid alias identifier");
    if (field.kind == T_ASTERISK) return refuse(p, t, "cannot alias *");
    pop(p);
    p->query->alias_count++;
    return true;
}

static bool parse_field(parser_t *p)
{
    token_t t = peek(p);

    if (t.kind == T_KEYWORD) return wrong(p, "SELECT requires field projection or *");
    if (t.kind != T_NAME && t.kind != T_ASTERISK) return refuse(p, t, "invalid field identifier");
    p->query->field_count++;
    if (t.kind == T_ASTERISK) p->query->all = true;
    pop(p);
    return !is(peek(p), "AS") || parse_alias(p, t);
}

static bool parse_select(parser_t *p)
{
    token_t t = peek(p);
    size_t start;

    if (!is(t, "SELECT") || t.kind != T_KEYWORD) return refuse(p, t, "invalid query type");
    pop(p);
    start = p->at;
    while (!at_end(p)) {
        if (!parse_field(p)) return false;
        t = peek(p);
        if (is(t, "FROM")) {
            p->query->fields = text_from(p, start);
            return parse_from(p);
        }
        if (!is(t, ",")) return refuse(p, t, "invalid select fields statement");
        pop(p);
    }
    return true;
}

ensql_result_t ensql_parse(ensign_slice_t sql, ensql_query_t *query, ensql_text_t *error)
{
    parser_t p = { trim(sql), 0, false, 0, query, error, ENSQL_OK };
    const ensign_slice_t *topic = &query->topic;

    memset(query, 0, sizeof *query);
    error->text[0] = '\0';
    if (p.sql.len == 0) wrong(&p, "empty query is invalid");
    else if (!parse_select(&p)) return p.result;
    else if (p.unfinished)
        syntax(&p, p.unfinished_at,
               slice_of(p.sql.ptr + p.unfinished_at,
                        p.sql.len - p.unfinished_at < UNFINISHED_SHOWN ? p.sql.len - p.unfinished_at
                                                                       : UNFINISHED_SHOWN),
               "quoted string missing closing quote");
    else if (topic->len == 0) wrong(&p, "topic name cannot be empty");
    else if (query->all && query->field_count != 1) wrong(&p, "cannot select * and specify fields");
    return p.result;
}
