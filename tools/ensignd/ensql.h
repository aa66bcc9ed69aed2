/* ensql.h - the service's parser of EnSQL, which ensignd has with --strict; its own is in select.h
 *
 * Bytes go in; what the query asks for comes out, or the text of what is wrong with it.
 *
 * query    = "SELECT" fields "FROM" topic ["WHERE" where] [paging] [";"]
 * fields   = "*" | name ["AS" name] { "," name ["AS" name] }
 * topic    = name ["." ( "*" | name ["." version] )]
 * where    = test { ("AND" | "OR") test }           test = name operator value, or such in parentheses
 * paging   = "LIMIT" n ["OFFSET" n] | "OFFSET" n ["LIMIT" n]
 *
 * It takes what the service takes, oddities included, and refuses the rest in the service's words:
 *
 *   - a keyword needs no end: OR is the front of `orders`, so no topic of that name can be queried;
 *   - a quoted string may stand for a keyword or a mark that follows something: 'FROM', ';';
 *   - t, T, true, True, TRUE and so on are truth values and no names;
 *   - a parenthesis may stay open, and may not be followed by another one;
 *   - a version that begins with 0 is octal; a point behind the topic may stand alone.
 *
 * Where the service's own parser breaks down (and then answers with no rows and no error), the result is
 * ENSQL_CRASH, and what the text says is our own. */
#ifndef ENSIGND_ENSQL_H
#define ENSIGND_ENSQL_H
#include "ensql_text.h"

typedef enum { ENSQL_OK, ENSQL_ERROR, ENSQL_CRASH } ensql_result_t;

/* Slices point into the text of the query. Of fields and tests only what Explain tells is kept: the service
   applies neither. */
typedef struct ensql_query_t {
    ensign_slice_t fields;              /* the text between SELECT and FROM */
    size_t   field_count, alias_count;
    bool     all;                       /* one of them is the asterisk */
    ensign_slice_t topic, schema;       /* schema: empty: none; "*": any */
    uint32_t version;                   /* 0: none */
    ensign_slice_t where;               /* the text behind WHERE; empty: none */
    size_t   test_count;
    bool     has_offset, has_limit;
    uint64_t offset, limit;
} ensql_query_t;

ensql_result_t ensql_parse(ensign_slice_t sql, ensql_query_t *query, ensql_text_t *error);
#endif
