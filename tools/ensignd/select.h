/* select.h - ensignd's own parser of EnSQL: what a query asks for, ready to be executed
 *
 * query    = "SELECT" ( "*" | item { "," item } ) "FROM" topic ["WHERE" any] [paging] { ";" }
 * item     = field ["AS" name]
 * topic    = ( name | quoted ) ["." ( "*" | name ["." version] )]
 * any      = all { "OR" all }                  all = one { "AND" one }
 * one      = { "NOT" } ( "(" any ")" | test )
 * test     = field op value | field ["NOT"] ( "LIKE" | "ILIKE" ) value
 *          | field ["NOT"] "IN" "(" value { "," value } ")" | field "IS" ["NOT"] "NULL"
 * field    = ["@"] name { "." name }           see field.h
 * value    = 'text' | number | true | false | ":" name
 * paging   = "LIMIT" count ["OFFSET" count] | "OFFSET" count ["LIMIT" count]
 * count    = digits | ":" name
 *
 * A name is letters, digits, _ and -, and begins with no digit and no -; in double quotes it is any text. A
 * topic may stand in single quotes and in backquotes, too. In 'text' a quote is written \'; any other
 * backslash is itself.
 *
 * Every query that the service takes (ensql.h) has the same meaning here, up to the limits below; a number of
 * WHERE has to be one, though. That is why
 *
 *   - a keyword of the service needs no end where nothing but a keyword may stand (LIMIT5); where a name may
 *     stand, it is a keyword only as a whole word: orders, assets and true are names;
 *   - a parenthesis may stay open;
 *   - 'FROM' or ';' in quotes may stand for the keyword or mark, as may each that follows something;
 *   - NOT in front of an operator is the field of that name, and so are IN, IS and NULL where a field stands.
 *
 * An error has the words that the service has for it, where it has such, and its position is always that of
 * the word which it names. */
#ifndef ENSIGND_SELECT_H
#define ENSIGND_SELECT_H
#include "ensql.h"
#include "where.h"

#define SELECT_BYTES_MAX 1048576        /* of the text, and of the parameters where it names one */
#define SELECT_FIELDS_MAX 1000
#define SELECT_VALUES_MAX 1000          /* of WHERE, tests for NULL counted in */
#define SELECT_PARAMS_MAX 1000
#define SELECT_DEPTH_MAX 64             /* parentheses in each other */
#define SELECT_ROW_MAX 4194304u         /* bytes of the row that a list of fields gives */

/* All of it points into `memory`: neither the query's text nor its parameters need to live on. */
typedef struct select_t {
    ensql_query_t query;                /* fields and where as texts, for Explain */
    field_t *fields;                    /* query.field_count of them; query.all: none */
    where_t  where;
    char    *memory;
} select_t;

/* `params`: the span of Query.params, already known to be readable. False: *error says why, and *s is
   empty. */
bool select_parse(ensign_slice_t sql, ensign_slice_t params, select_t *s, ensql_text_t *error);
bool select_is_plain(const select_t *s);        /* it gives each event as it is */
/* Whether the event is one of its rows; false, too, when the view is refused. */
bool select_takes(const select_t *s, view_t *v);
/* Appends an event that has the fields as its data, as JSON; `v` is one that select_takes. False: nothing is
   appended, and the view is refused: v->refused says why. */
bool select_project(const select_t *s, view_t *v, buf_t *out);
void select_free(select_t *s);
#endif
