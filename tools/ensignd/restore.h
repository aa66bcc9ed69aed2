/* restore.h - a stored duplicate, made whole again out of the event that it repeats */
#ifndef ENSIGND_RESTORE_H
#define ENSIGND_RESTORE_H
#include "util.h"

/* Both are EventWrappers as the store has them. Appends the duplicate to `out`, with the content that it
   leaves to its original; is_duplicate and duplicate_id stay. False, and nothing appended: one of them cannot
   be read. */
bool restore_duplicate(ensign_slice_t duplicate, ensign_slice_t original, buf_t *out);
#endif
