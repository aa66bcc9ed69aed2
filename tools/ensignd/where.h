/* where.h - the condition of a query, as a tree, and whether an event meets it
 *
 * Each test compares a field with values. It is true or false, never unknown: a field that is not there, or
 * of another type than the value, makes it false; so a != 1 and a NOT IN (1) are false where there is no a.
 * NOT in front of a test turns its truth round: NOT a = 1 is true there.
 *
 *     numbers      by value; an integer is compared with a fraction exactly
 *     texts        byte by byte, which is the order of Unicode's numbers
 *     true, false  false is below true
 *     times        of @created and @committed with a text such as '2026-01-31T12:00:00Z'
 *     IN           equal to one of the values; NOT IN: of the type of one of them, and equal to none
 *     LIKE         % stands for any text, _ for one character, \% and \_ for themselves; ILIKE: A to Z and
 *                  a to z are the same
 *     IS NULL      is not there, or is null in the JSON
 *
 * A node is a place in the array; 0 is no node, and a condition without nodes is met by every event. */
#ifndef ENSIGND_WHERE_H
#define ENSIGND_WHERE_H
#include "field.h"

typedef enum { NODE_AND, NODE_OR, NODE_COMPARE, NODE_LIKE, NODE_IN, NODE_IS_NULL } node_kind_t;
typedef enum { OP_EQUAL, OP_UNEQUAL, OP_LESS, OP_LESS_EQUAL, OP_GREATER, OP_GREATER_EQUAL } operator_t;

typedef struct node_t {
    node_kind_t kind;
    bool     negated;                   /* NOT stands in front */
    size_t   first, next;               /* the first part of an AND or OR; the next part of the same group */
    field_t  field;
    bool     inverse;                   /* NOT LIKE, NOT IN, IS NOT NULL */
    bool     fold;                      /* ILIKE */
    uint8_t *pattern;                   /* of LIKE, made ready; owned */
    size_t   pattern_len;
    operator_t op;
    size_t   value, value_count;        /* places in `values` */
} node_t;

typedef struct where_t {
    node_t  *nodes;
    size_t   node_count, root;
    value_t *values;                    /* their texts are the caller's */
    size_t   value_count;
} where_t;

size_t where_add_node(where_t *w, node_kind_t kind);
size_t where_add_value(where_t *w, value_t v);
bool   where_holds(const where_t *w, view_t *v);        /* false, too, when the view is refused */
void   where_free(where_t *w);

#define PATTERN_MAX 4096                /* bytes */
/* Sets the pattern of a NODE_LIKE. NULL: done; else what is wrong with it. */
const char *pattern_set(node_t *n, ensign_slice_t pattern);
/* *work: how many bytes it has looked at. That is linear in pattern and text, whatever they are. */
bool   pattern_matches(const node_t *n, ensign_slice_t text, size_t *work);
#endif
