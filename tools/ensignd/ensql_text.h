/* ensql_text.h - what both parsers of EnSQL share: white space, names, numbers, and the form of an error */
#ifndef ENSIGND_ENSQL_TEXT_H
#define ENSIGND_ENSQL_TEXT_H
#include "util.h"

#define NEAR_MAX 400            /* bytes of the token that an error names, once quoted; a longer one is cut */
#define NEAR_TEXT (NEAR_MAX + 32)

typedef struct ensql_text_t { char text[640]; } ensql_text_t;

ensign_slice_t slice_skip(ensign_slice_t s, size_t n);
bool is_space(uint32_t rune);                           /* as Unicode has it */
bool is_digit(uint8_t c);
bool in_name(uint8_t c);                                /* of a name without quotes */
bool is_truth(ensign_slice_t word);                     /* t, True, FALSE and so on */
ensign_slice_t trim(ensign_slice_t s);                  /* of characters that are white space */
bool begins_with(ensign_slice_t s, const char *word);   /* in any case; the word is in upper case */

/* A token as Go's %q has it. */
void quote(ensign_slice_t s, char out[NEAR_TEXT]);

/* Digits alone, at most `most`. In base 8 there may be no digit. */
bool read_digits(ensign_slice_t s, unsigned base, uint64_t most, uint64_t *out);
bool read_version(ensign_slice_t s, uint32_t *out);     /* of a schema: octal if it begins with 0 */

/* "syntax error at position 3 near "x": reason". Returns false. */
bool syntax_error(ensql_text_t *error, size_t at, ensign_slice_t near, const char *reason);
#endif
