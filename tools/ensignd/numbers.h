/* numbers.h - how much lies in each topic: counted from the store, when somebody asks
 *
 * What was counted once stays counted: asking again counts only what has come since. Sizes are those when
 * counted, so they do not fall when duplicates shrink; after a restart all is counted anew. */
#ifndef ENSIGND_NUMBERS_H
#define ENSIGND_NUMBERS_H
#include "jobs.h"

#define TYPES_MAX 1024                  /* of one topic; events of more types count in its sums alone */

typedef struct sums_t { uint64_t events, duplicates, bytes; } sums_t;

/* Counts one batch on, to `until` at most. */
bool numbers_advance(service_t *s, const topic_t *t, const rlid_t *until, bool *more, why_t *why);
void numbers_no_duplicates(service_t *s, const topic_t *t);             /* all that was counted is whole */
/* A counted one, now a duplicate. */
void numbers_duplicate(service_t *s, const topic_t *t, ensign_slice_t wrapper);
/* Appends a TopicInfo, and adds its numbers to the sums. */
void numbers_put(service_t *s, const topic_t *t, buf_t *out, sums_t *sums);
uint64_t numbers_events(service_t *s, const topic_t *t);                /* those counted so far */
void numbers_forget(service_t *s, const topic_t *t);
#endif
