/* ensql.c - the development server's parser of EnSQL with --strict: what it takes, and what it refuses in
 * which words
 *
 * The tables hold what the service's own parser says to the same texts; but the words of a crash are ours. */
#include "../../tools/ensignd/ensql.c"
#include "../../tools/ensignd/ensql_text.c"
#include "../../tools/ensignd/util.c"
#include "../../tools/common/utf8.c"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

typedef struct row_t { const char *sql, *says; } row_t;

/* topic.schema@version, the selected text with the number of fields and aliases, and the rest if given */
static const row_t accepted[] = {
    { "SELECT * FROM topic", "topic [*]1+0" },
    { "SELECT * FROM topic;", "topic [*]1+0" },
    { "SELECT * FROM topic ; ;;", "topic [*]1+0" },
    { " \t\nSELECT * FROM topic\r\n", "topic [*]1+0" },
    { "\xc2\xa0\xe3\x80\x80SELECT * FROM topic\xe2\x80\x83\xc2\x85", "topic [*]1+0" },
    { "select * from topic", "topic [*]1+0" },
    { "SeLeCt*fRoMtopic", "topic [*]1+0" },
    { "SELECT\n*\nFROM\ntopic", "topic [*]1+0" },
    { "SELECT * FROM dashed-topic", "dashed-topic [*]1+0" },
    { "SELECT * FROM _x", "_x [*]1+0" },
    { "SELECT * FROM x1", "x1 [*]1+0" },
    { "SELECT * FROM tOR", "tOR [*]1+0" },
    { "SELECT * FROM topicLIMIT3", "topicLIMIT3 [*]1+0" },
    { "SELECT * FROM truely", "truely [*]1+0" },
    { "SELECT name FROM topic", "topic [name]1+0" },
    { "SELECT name, age, color FROM topic", "topic [name, age, color]3+0" },
    { "SELECT a,b,c FROM topic", "topic [a,b,c]3+0" },
    { "SELECT name AS n FROM topic", "topic [name AS n]1+1" },
    { "SELECT name as n, age, color AS c FROM topic", "topic [name as n, age, color AS c]3+2" },
    { "SELECT a ASb FROM topic", "topic [a ASb]1+1" },
    { "SELECT * FROM topic.schema", "topic.schema [*]1+0" },
    { "SELECT * FROM topic.*", "topic.* [*]1+0" },
    { "SELECT * FROM topic.* LIMIT 1", "topic.* [*]1+0 limit 1" },
    { "SELECT * FROM topic.schema.23;", "topic.schema@23 [*]1+0" },
    { "SELECT * FROM topic . schema . 23", "topic.schema@23 [*]1+0" },
    { "SELECT * FROM topic.schema.010", "topic.schema@8 [*]1+0" },
    { "SELECT * FROM topic.schema.0", "topic.schema [*]1+0" },
    { "SELECT * FROM topic.schema.4294967295", "topic.schema@4294967295 [*]1+0" },
    { "SELECT * FROM topic.", "topic [*]1+0" },
    { "SELECT * FROM topic.schema.", "topic.schema [*]1+0" },
    { "SELECT * FROM topic.schema.7 OFFSET 1", "topic.schema@7 [*]1+0 offset 1" },
    { "SELECT * FROM topic LIMIT 42", "topic [*]1+0 limit 42" },
    { "SELECT * FROM topic OFFSET 23", "topic [*]1+0 offset 23" },
    { "SELECT * FROM topic OFFSET 23 LIMIT 42", "topic [*]1+0 offset 23 limit 42" },
    { "SELECT * FROM topic LIMIT 42 OFFSET 23", "topic [*]1+0 offset 23 limit 42" },
    { "SELECT * FROM topic limit 42 offset 23;", "topic [*]1+0 offset 23 limit 42" },
    { "SELECT * FROM topic LIMIT0", "topic [*]1+0 limit 0" },
    { "SELECT * FROM topic LIMIT 10OFFSET 010", "topic [*]1+0 offset 10 limit 10" },
    { "SELECT * FROM topic LIMIT 18446744073709551615", "topic [*]1+0 limit 18446744073709551615" },
    { "SELECT * FROM topic WHERE a=1", "topic [*]1+0 where {a=1}1" },
    { "SELECT * FROM topic WHERE a = 'x' LIMIT 3", "topic [*]1+0 where {a = 'x'}1 limit 3" },
    { "SELECT * FROM topic WHERE a != -1.5 OFFSET 3", "topic [*]1+0 where {a != -1.5}1 offset 3" },
    { "SELECT * FROM topic WHERE a <> true;", "topic [*]1+0 where {a <> true}1" },
    { "SELECT * FROM topic WHERE a >= t AND b <= F", "topic [*]1+0 where {a >= t AND b <= F}2" },
    { "SELECT * FROM topic WHERE a > 1 or b < 2 and c = 3",
      "topic [*]1+0 where {a > 1 or b < 2 and c = 3}3" },
    { "SELECT * FROM topic WHERE a LIKE 'x%' AND b ilike '%y'",
      "topic [*]1+0 where {a LIKE 'x%' AND b ilike '%y'}2" },
    { "SELECT * FROM topic WHERE a = 'it\\'s'", "topic [*]1+0 where {a = 'it\\'s'}1" },
    { "SELECT * FROM topic WHERE a = ''", "topic [*]1+0 where {a = ''}1" },
    { "SELECT * FROM topic WHERE (a=1)", "topic [*]1+0 where {(a=1)}1" },
    { "SELECT * FROM topic WHERE (a=1", "topic [*]1+0 where {(a=1}1" },
    { "SELECT * FROM topic WHERE (", "topic [*]1+0 where {(}0" },
    { "SELECT * FROM topic WHERE a=1 AND (", "topic [*]1+0 where {a=1 AND (}1" },
    { "SELECT * FROM topic WHERE (a=1 OR b=2) AND c=3 LIMIT 4",
      "topic [*]1+0 where {(a=1 OR b=2) AND c=3}3 limit 4" },
    { "SELECT * FROM topic WHERE a=1 AND (b=2 OR (c=3 AND d=4)) OFFSET 9;",
      "topic [*]1+0 where {a=1 AND (b=2 OR (c=3 AND d=4))}4 offset 9" },
    { "SELECT * FROM topic.s.1 WHERE a=1", "topic.s@1 [*]1+0 where {a=1}1" },
    /* quoted strings that stand for keywords and marks */
    { "SELECT a 'FROM' topic", "topic [a]1+0" },
    { "SELECT a ',' b FROM topic", "topic [a ',' b]2+0" },
    { "SELECT * FROM topic ';'", "topic [*]1+0" },
    { "SELECT * FROM topic '.' schema", "topic.schema [*]1+0" },
    { "SELECT * FROM topic 'LIMIT' 3", "topic [*]1+0 limit 3" },
    { "SELECT * FROM topic WHERE '(' a=1 ')'", "topic [*]1+0 where {'(' a=1 ')'}1" },
};

#define AT(position, near) "syntax error at position " position " near \"" near "\": "

static const row_t refused[] = {
    { "", "empty query is invalid" },
    { " \t\n ", "empty query is invalid" },
    { "\xe2\x80\x83", "empty query is invalid" },
    { "DELETE FROM topic", AT("0", "DELETE") "invalid query type" },
    { "WITH x AS y", AT("0", "WITH") "invalid query type" },
    { "  from topic", AT("0", "FROM") "invalid query type" },
    { "* FROM topic", AT("0", "*") "invalid query type" },
    { "'SELECT' * FROM topic", AT("0", "SELECT") "invalid query type" },
    { "\"", AT("0", "") "invalid query type" },
    { ";", AT("0", ";") "invalid query type" },
    { "SELECT", "topic name cannot be empty" },
    { "SELECT a,", "topic name cannot be empty" },
    { "SELECT a AS b,", "topic name cannot be empty" },
    { "SELECT FROM topic", "SELECT requires field projection or *" },
    { "SELECT a, FROM topic", "SELECT requires field projection or *" },
    { "SELECT asset FROM topic", "SELECT requires field projection or *" },
    { "SELECT *, a FROM topic", "cannot select * and specify fields" },
    { "SELECT a, * FROM topic", "cannot select * and specify fields" },
    { "SELECT *, * FROM topic", "cannot select * and specify fields" },
    { "SELECT 'a' FROM topic", AT("7", "a") "invalid field identifier" },
    { "SELECT 1 FROM topic", AT("7", "1") "invalid field identifier" },
    { "SELECT t FROM topic", AT("7", "t") "invalid field identifier" },
    { "SELECT order FROM topic", AT("7", "OR") "invalid field identifier" },
    { "SELECT ( FROM topic", AT("7", "(") "invalid field identifier" },
    { "SELECT *", AT("8", "") "invalid select fields statement" },
    { "SELECT \"a\" FROM topic", AT("7", "") "invalid select fields statement" },
    { "SELECT name age color FROM topic", AT("12", "age") "invalid select fields statement" },
    { "SELECT DISTINCT a FROM x", AT("16", "a") "invalid select fields statement" },
    { "SELECT COUNT(a) FROM x", AT("12", "(") "invalid select fields statement" },
    { "SELECT a AS b AS c FROM topic", AT("14", "AS") "invalid select fields statement" },
    { "SELECT a 'b", AT("9", "") "invalid select fields statement" },
    { "SELECT a AS", AT("11", "") "invalid alias identifier" },
    { "SELECT a AS 3 FROM topic", AT("12", "3") "invalid alias identifier" },
    { "SELECT a AS from FROM topic", AT("12", "FROM") "invalid alias identifier" },
    { "SELECT * AS a FROM topic", AT("12", "a") "cannot alias *" },
    { "SELECT * FROM", AT("13", "") "invalid topic identifier" },
    { "SELECT * FROM 'topic'", AT("14", "topic") "invalid topic identifier" },
    { "SELECT * FROM orders", AT("14", "OR") "invalid topic identifier" },
    { "SELECT * FROM assets", AT("14", "AS") "invalid topic identifier" },
    { "SELECT * FROM Android", AT("14", "AND") "invalid topic identifier" },
    { "SELECT * FROM likes", AT("14", "LIKE") "invalid topic identifier" },
    { "SELECT * FROM limits", AT("14", "LIMIT") "invalid topic identifier" },
    { "SELECT * FROM from_x", AT("14", "FROM") "invalid topic identifier" },
    { "SELECT * FROM 01GTSMQ3V8ASAPNCFEN378T8RD", AT("14", "01") "invalid topic identifier" },
    { "SELECT * FROM true", AT("14", "true") "invalid topic identifier" },
    { "SELECT * FROM 'open", AT("14", "") "invalid topic identifier" },
    { "SELECT * FROM 'it\\'s'", AT("14", "it\\\\'s") "invalid topic identifier" },
    { "SELECT * FROM 'a\"b\tc\x01\xc3\xa9\xe2\x80\x8b\x7f'",
      AT("14", "a\\\"b\\tc\\x01\xc3\xa9\\u200b\\x7f") "invalid topic identifier" },
    { "SELECT * FROM 'a\xff'", AT("14", "a\\xff") "invalid topic identifier" },
    { "SELECT * FROM '\xf3\xa0\x80\x81'", AT("14", "\\U000e0001") "invalid topic identifier" },
    { "SELECT * FROM topic x", AT("20", "x") "invalid from clause" },
    { "SELECT * FROM topic, other", AT("19", ",") "invalid from clause" },
    { "SELECT * FROM topic ORDER BY a", AT("20", "OR") "invalid from clause" },
    { "SELECT * FROM topic.s x", AT("22", "x") "invalid from clause" },
    { "SELECT * FROM topic.s.1.2", AT("22", "1.2") "could not parse schema version" },
    { "SELECT * FROM topic.s.1 AS a", AT("24", "AS") "invalid from clause" },
    { "SELECT * FROM topic.2", AT("20", "2") "invalid schema identifier" },
    { "SELECT * FROM topic.;", AT("20", ";") "invalid schema identifier" },
    { "SELECT * FROM topic. LIMIT 3", AT("21", "LIMIT") "invalid schema identifier" },
    { "SELECT * FROM topic.*.1", AT("21", ".") "cannot specify version for * schema" },
    { "SELECT * FROM topic.s.x", AT("22", "x") "invalid version identifier" },
    { "SELECT * FROM topic.s.;", AT("22", ";") "invalid version identifier" },
    { "SELECT * FROM topic.s.-1", AT("22", "-1") "could not parse schema version" },
    { "SELECT * FROM topic.s.08", AT("22", "08") "could not parse schema version" },
    { "SELECT * FROM topic.s.4294967296", AT("22", "4294967296") "could not parse schema version" },
    { "SELECT * FROM topic WHERE", AT("25", "") "invalid where clause" },
    { "SELECT * FROM topic WHERE 1=a", AT("26", "1") "invalid where clause" },
    { "SELECT * FROM topic WHERE a", AT("27", "") "invalid where clause" },
    { "SELECT * FROM topic WHERE a b", AT("28", "b") "invalid where clause" },
    { "SELECT * FROM topic WHERE NOT a=1", AT("30", "a") "invalid where clause" },
    { "SELECT * FROM topic WHERE a =", AT("29", "") "invalid where clause" },
    { "SELECT * FROM topic WHERE color = red", AT("34", "red") "invalid where clause" },
    { "SELECT * FROM topic WHERE a = \"x\"", AT("30", "") "invalid where clause" },
    { "SELECT * FROM topic WHERE a = ?", AT("30", "") "invalid where clause" },
    { "SELECT * FROM topic WHERE a = :name", AT("30", "") "invalid where clause" },
    { "SELECT * FROM topic WHERE a = 'x", AT("30", "") "invalid where clause" },
    { "SELECT * FROM topic WHERE a=1 AND", AT("33", "") "invalid where clause" },
    { "SELECT * FROM topic WHERE a=1 AND 2", AT("34", "2") "invalid where clause" },
    { "SELECT * FROM topic WHERE ((a=1))",
      AT("28", "(") "where clause predicates expressions must start with an identifier" },
    { "SELECT * FROM topic WHERE ()",
      AT("28", ")") "where clause predicates expressions must start with an identifier" },
    { "SELECT * FROM topic WHERE a AND b",
      AT("32", "AND") "where clause expressions require comparison operators" },
    { "SELECT * FROM topic WHERE a=1 'AND' b=2",
      AT("36", "AND") "where clause predicates require logical operators" },
    { "SELECT * FROM topic WHERE a=1 b=2", AT("31", "b") "cannot append or update condition in group" },
    { "SELECT * FROM topic WHERE a=1 WHERE b=2",
      AT("36", "WHERE") "cannot append or update condition in group" },
    { "SELECT * FROM topic WHERE a=1)", AT("30", ")") "cannot close expression parentheses" },
    { "SELECT * FROM topic WHERE (a=1) )", AT("33", ")") "cannot close expression parentheses" },
    { "SELECT * FROM topic WHERE (a=1) b",
      "parser has reached an unhandled state: expected \")\" but received \"b\"" },
    { "SELECT * FROM topic WHERE (a=1) WHERE",
      "parser has reached an unhandled state: expected \")\" but received \"WHERE\"" },
    { "SELECT * FROM topic OFFSET", AT("26", "") "invalid offset" },
    { "SELECT * FROM topic OFFSET '3'", AT("27", "3") "invalid offset" },
    { "SELECT * FROM topic OFFSET 3.24", AT("27", "3.24") "could not parse offset" },
    { "SELECT * FROM topic OFFSET -1", AT("27", "-1") "could not parse offset" },
    { "SELECT * FROM topic OFFSET 18446744073709551616",
      AT("27", "18446744073709551616") "could not parse offset" },
    { "SELECT * FROM topic OFFSET 3 OFFSET 4", AT("29", "OFFSET") "invalid offset clause" },
    { "SELECT * FROM topic OFFSET 3 LIMIT 4 OFFSET 5", AT("44", "5") "offset has already been set" },
    { "SELECT * FROM topic LIMIT", AT("25", "") "invalid limit" },
    { "SELECT * FROM topic LIMIT ten", AT("26", "ten") "invalid limit" },
    { "SELECT * FROM topic LIMIT -", AT("26", "-") "could not parse limit" },
    { "SELECT * FROM topic LIMIT 1e3", AT("27", "e3") "invalid limit clause" },
    { "SELECT * FROM topic LIMIT 99999999999999999999",
      AT("26", "99999999999999999999") "could not parse limit" },
    { "SELECT * FROM topic LIMIT 1 LIMIT 2", AT("28", "LIMIT") "invalid limit clause" },
    { "SELECT * FROM topic LIMIT 1 OFFSET 2 LIMIT 3", AT("43", "3") "limit has already been set" },
    { "SELECT * FROM topic LIMIT 1 WHERE a=1", AT("28", "WHERE") "invalid limit clause" },
    { "SELECT * FROM topic 'abc", AT("20", "'abc") "quoted string missing closing quote" },
    { "SELECT * FROM topic; 'abcdefg", AT("21", "'abcd") "quoted string missing closing quote" },
    { "SELECT * FROM topic WHERE a='x' '\\'", AT("32", "'\\\\'") "quoted string missing closing quote" },
};

#define NO_TOKEN "unexpected character; names stand without quotes"
#define BEHIND "only ; may follow the end of the query"

/* The service's parser panics at these, and its client sees no rows and no error. */
static const row_t crashes[] = {
    { "SELECT * FROM \"topic\"", AT("14", "\\\"") NO_TOKEN },
    { "SELECT * FROM `topic`", AT("14", "`") NO_TOKEN },
    { "SELECT * FROM topic @", AT("20", "@") NO_TOKEN },
    { "SELECT * FROM topic ''", AT("20", "''") BEHIND },
    { "SELECT * FROM topic; SELECT", AT("21", "SELECT") BEHIND },
    { "SELECT * FROM topic LIMIT 3 /", AT("28", "/") NO_TOKEN },
    { "SELECT * FROM topic.?", AT("20", "?") NO_TOKEN },
    { "SELECT * FROM topic WHERE a=1 \xc3\xa9", AT("30", "\xc3\xa9") NO_TOKEN },
};

/* As the accepted table has it. */
static void tell(const ensql_query_t *q, char *out, size_t cap)
{
    size_t n = (size_t)snprintf(out, cap, "%.*s", (int)q->topic.len, (const char *)q->topic.ptr);

#define ADD(...) n += (size_t)snprintf(out + n, cap - n, __VA_ARGS__)
    if (q->schema.len) ADD(".%.*s", (int)q->schema.len, (const char *)q->schema.ptr);
    if (q->version) ADD("@%u", (unsigned)q->version);
    ADD(" [%.*s]%zu+%zu", (int)q->fields.len, (const char *)q->fields.ptr, q->field_count, q->alias_count);
    if (q->where.len)
        ADD(" where {%.*s}%zu", (int)q->where.len, (const char *)q->where.ptr, q->test_count);
    if (q->has_offset) ADD(" offset %llu", (unsigned long long)q->offset);
    if (q->has_limit) ADD(" limit %llu", (unsigned long long)q->limit);
#undef ADD
    assert_true(n < cap);
}

/* In a block of just its size: whoever reads past the end is found. */
static ensql_result_t parse(const char *sql, size_t len, ensql_query_t *q, ensql_text_t *error, char **copy)
{
    *copy = malloc(len ? len : 1);
    assert_non_null(*copy);
    memcpy(*copy, sql, len);
    return ensql_parse(slice_of(*copy, len), q, error);
}

static void accepts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; i++) {
        ensql_query_t q;
        ensql_text_t error;
        char says[400], *copy;

        if (parse(accepted[i].sql, strlen(accepted[i].sql), &q, &error, &copy) != ENSQL_OK)
            fail_msg("%s: %s", accepted[i].sql, error.text);
        tell(&q, says, sizeof says);
        if (strcmp(says, accepted[i].says) != 0)
            fail_msg("%s\n  is      %s\n  must be %s", accepted[i].sql, says, accepted[i].says);
        assert_string_equal(error.text, "");
        assert_int_equal(q.all, strstr(says, "[*]") != NULL);
        free(copy);
    }
}

/* Each row gives this result, in these words. */
static void check_words(const row_t *rows, size_t count, ensql_result_t want)
{
    for (size_t i = 0; i < count; i++) {
        ensql_query_t q;
        ensql_text_t error;
        char *copy;
        ensql_result_t is = parse(rows[i].sql, strlen(rows[i].sql), &q, &error, &copy);

        if (is != want)
            fail_msg("%s: result %d, must be %d: %s", rows[i].sql, (int)is, (int)want, error.text);
        if (strcmp(error.text, rows[i].says) != 0)
            fail_msg("%s\n  is      %s\n  must be %s", rows[i].sql, error.text, rows[i].says);
        free(copy);
    }
}

static void refuses(void **state)
{
    (void)state;
    check_words(refused, sizeof refused / sizeof refused[0], ENSQL_ERROR);
}

static void crashes_are_told_apart(void **state)
{
    (void)state;
    check_words(crashes, sizeof crashes / sizeof crashes[0], ENSQL_CRASH);
}

/* Any front of a query gives one of the three results, and reads nothing behind its end. */
static void every_front_has_a_result(void **state)
{
    size_t ok = 0;
    (void)state;

    for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; i++) {
        for (size_t n = 0; n <= strlen(accepted[i].sql); n++) {
            ensql_query_t q;
            ensql_text_t error;
            char *copy;
            ensql_result_t r = parse(accepted[i].sql, n, &q, &error, &copy);

            assert_int_equal(r == ENSQL_OK, error.text[0] == '\0');
            if (r == ENSQL_OK) {
                assert_true(q.topic.len > 0 && q.topic.ptr >= (const uint8_t *)copy);
                ok++;
            }
            free(copy);
        }
    }
    assert_true(ok > sizeof accepted / sizeof accepted[0]);
}

static void long_token_is_cut_and_the_reason_stays(void **state)
{
    static char sql[70000];
    ensql_query_t q;
    ensql_text_t error;
    char *copy;
    (void)state;

    memset(sql, 'x', sizeof sql);
    memcpy(sql, "SELECT * FROM '", 15);
    sql[sizeof sql - 1] = '\'';
    assert_int_equal(parse(sql, sizeof sql, &q, &error, &copy), ENSQL_ERROR);
    free(copy);
    assert_non_null(strstr(error.text, "xxx...\": invalid topic identifier"));
    memset(sql + 15, 1, sizeof sql - 16);       /* four bytes each, once quoted */
    assert_int_equal(parse(sql, sizeof sql, &q, &error, &copy), ENSQL_ERROR);
    free(copy);
    assert_non_null(strstr(error.text, "\\x01...\": invalid topic identifier"));
}

/* Deep as the query is long: no recursion. */
static void many_parentheses(void **state)
{
    static const char head[] = "SELECT * FROM topic WHERE ", part[] = "(a=1 AND ";
    enum { DEPTH = 100000 };
    size_t n = strlen(head), size = n + DEPTH * strlen(part) + 4 + DEPTH;
    char *sql = malloc(size), *copy;
    ensql_query_t q;
    ensql_text_t error;
    (void)state;

    assert_non_null(sql);
    memcpy(sql, head, n);
    for (size_t i = 0; i < DEPTH; i++, n += strlen(part)) memcpy(sql + n, part, strlen(part));
    memcpy(sql + n, "a=1 ", 4);
    memset(sql + n + 4, ')', DEPTH);
    assert_int_equal(parse(sql, size, &q, &error, &copy), ENSQL_OK);
    assert_int_equal(q.test_count, DEPTH + 1);
    free(copy);
    free(sql);
}

static void utf8_is_told_from_other_bytes(void **state)
{
    static const struct { const char *bytes; bool good; } rows[] = {
        { "", true }, { "abc", true }, { "\xc3\xa9", true }, { "\xe2\x82\xac", true },
        { "\xf0\x9f\x98\x80", true }, { "\xf4\x8f\xbf\xbf", true }, { "\xff", false }, { "\xc3", false },
        { "\x80", false }, { "\xc0\xaf", false }, { "\xe0\x80\xaf", false }, { "\xed\xa0\x80", false },
        { "\xf4\x90\x80\x80", false }, { "\xf8\x88\x80\x80\x80", false }, { "a\xe2\x82", false },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (utf8_valid(slice_text(rows[i].bytes)) != rows[i].good) fail_msg("\"%s\"", rows[i].bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts),
        cmocka_unit_test(refuses),
        cmocka_unit_test(crashes_are_told_apart),
        cmocka_unit_test(every_front_has_a_result),
        cmocka_unit_test(long_token_is_cut_and_the_reason_stays),
        cmocka_unit_test(many_parentheses),
        cmocka_unit_test(utf8_is_told_from_other_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
