/* utf8.h - characters of UTF-8, for both programs */
#ifndef ENSIGN_TOOLS_UTF8_H
#define ENSIGN_TOOLS_UTF8_H
#include "../../ensign.h"

/* The character at the front: how many bytes it takes, 1..4; 0, and *out as it was: there is none, or no
   valid UTF-8. */
size_t utf8_char(ensign_slice_t s, uint32_t *out);
bool   utf8_valid(ensign_slice_t s);
#endif
