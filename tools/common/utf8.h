/* utf8.h - characters of UTF-8, for both programs */
#ifndef ENSIGN_TOOLS_UTF8_H
#define ENSIGN_TOOLS_UTF8_H
#include "../../ensign.h"

/* Reads the character at the front and returns its length, 1..4 bytes. Returns 0, and leaves *out alone, when
   the text is empty or is not valid UTF-8. */
size_t utf8_char(ensign_slice_t s, uint32_t *out);
bool   utf8_valid(ensign_slice_t s);
#endif
