/* args.h - command lines: options, their values, and the words between them; for both programs
 *
 * A program has tables of its options. args_next says what stands next on the command line; what is wrong
 * there, each program tells in its own words. */
#ifndef ENSIGN_TOOLS_ARGS_H
#define ENSIGN_TOOLS_ARGS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What an option's value is. FLAG and TIMES have none; COUNT may have one, behind = only. */
typedef enum {
    KIND_FLAG, KIND_TIMES, KIND_TEXT, KIND_LIST, KIND_WORDS, KIND_NUMBER, KIND_REAL, KIND_MS, KIND_CHOICE,
    KIND_COUNT, KIND_PORT, KIND_NACK
} kind_t;

typedef struct option_t {
    uint32_t    commands;       /* bits: those that have it */
    char        letter;         /* 0: none */
    const char *name;           /* "--name" */
    kind_t      kind;
    const char *value;          /* as help shows it; of a choice: the words, with | between them */
    size_t      at;             /* in the program's struct of options */
    uint64_t    least, most;    /* of a number */
    const char *help;
} option_t;

typedef struct option_table_t { const option_t *rows; size_t count; } option_table_t;

typedef enum {
    ARG_WORD,                   /* no option */
    ARG_OPTION,                 /* with its value, or NULL */
    ARG_UNKNOWN,                /* looks like an option */
    ARG_UNWANTED,               /* a value behind an option that takes none: `value` begins with the = */
    ARG_MISSING                 /* the value is */
} arg_kind_t;

typedef struct arg_t {
    arg_kind_t      kind;
    const option_t *option;
    const char     *text;       /* the whole word of the command line */
    char            letter;     /* of that word the one that this is about; 0: all of it */
    const char     *value;
    int             place;      /* of the word in argv */
} arg_t;

typedef struct args_t {
    int                   argc;
    char                **argv;
    const option_table_t *tables;
    size_t                table_count;
    uint32_t              commands;     /* whose options count */
    int                   at;           /* the next word; start with 1 */
    const char           *letters;      /* what is left of -abc; start with NULL */
    bool                  ended;        /* by --: no options follow; start with false */
} args_t;

bool args_next(args_t *a, arg_t *out);  /* false: that was all */

bool            option_like(const char *word);          /* it begins with -, and is more than that */
bool            option_has_value(const option_t *k);    /* of the next word, if nothing stands behind a = */
/* The option that this word begins with, of commands of these. */
const option_t *option_find(const option_table_t *tables, size_t count, uint32_t commands, const char *word);
/* Keeps the value of a FLAG, TIMES or TEXT in the program's struct; false: it is of another kind. */
bool            option_keep(void *options, const option_t *k, const char *value);
#endif
