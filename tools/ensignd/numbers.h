/* numbers.h - how much lies in each topic: counted from the log, when somebody asks
 *
 * What was counted once stays counted: asking again counts only what has come since. Sizes are those when
 * counted, so they do not fall when duplicates shrink; after a restart all is counted anew. One job counts a
 * topic, for all that wait for its numbers. */
#ifndef ENSIGND_NUMBERS_H
#define ENSIGND_NUMBERS_H
#include "jobs.h"

#define TYPES_MAX 1024                  /* of one topic; events of more types count in its sums alone */

typedef struct sums_t { uint64_t events, duplicates, bytes; } sums_t;

/* JOB_DONE: all up to that offset is counted. Else what the step of `waiter` returns: it is woken when it is
   to ask again. */
job_result_t numbers_count(service_t *s, topic_t *t, uint64_t until, job_t *waiter);
void numbers_no_duplicates(service_t *s, const topic_t *t);             /* all that was counted is whole */
/* A counted one, now a duplicate. */
void numbers_duplicate(service_t *s, const topic_t *t, ensign_slice_t wrapper);
/* Appends a TopicInfo, and adds its numbers to the sums. */
void numbers_put(service_t *s, const topic_t *t, buf_t *out, sums_t *sums);
uint64_t numbers_events(service_t *s, const topic_t *t);                /* those counted so far */
uint64_t numbers_last(service_t *s, const topic_t *t);  /* the last one's offset; 0: there is none */
void numbers_forget(service_t *s, const topic_t *t);
#endif
