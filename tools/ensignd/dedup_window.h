/* dedup_window.h - deduplication at publish time: what a topic got in the last seconds
 *
 * A topic whose policy looks for duplicates has a window of so many seconds. An event that repeats one of the
 * window is stored as its duplicate, as rehash.c would store it. OFFSET_LATEST is taken as OFFSET_EARLIEST
 * here: to make the newest copy the original, all older ones would have to be changed with each event.
 *
 * Owns   what it knows of each event of the windows: a digest, its id, and what a duplicate is compared with;
 *        never the data. At most ENTRIES_OF_TOPIC and ENTRIES_IN_ALL of them, of OUTLINES_BYTES together;
 *        beyond that the oldest are forgotten, and an event that repeats one is stored as a new one.
 * Moves  the window of a topic is filled from the log's end when the topic is asked for first, and then by
 *        the log's live events, so it is the same after a restart, as far as the project's last FILL_MOST
 *        events tell. While the topic is PENDING it is closed, and it is filled anew behind each change of
 *        the policy.
 * Fails  what cannot be read of the log is taken to be no original. */
#ifndef ENSIGND_DEDUP_WINDOW_H
#define ENSIGND_DEDUP_WINDOW_H
#include "topics.h"

#define DEDUP_WINDOW_DEFAULT 120        /* seconds */

typedef enum {
    DEDUP_NEW,                          /* to be appended as it is */
    DEDUP_REPEATED,                     /* to be appended as `marked` */
    DEDUP_LATER                         /* its original, or the window, is on its way: ask again when
                                           dedup_window_serial changes; append nothing of the topic before */
} dedup_answer_t;

typedef struct dedup_window_t dedup_window_t;

dedup_window_t *dedup_window_open(log_t *l, const topics_t *topics, int64_t seconds);  /* 0: finds nothing */
/* Of an event that is about to be appended, as log.h's value. A new one is an original from now on. */
dedup_answer_t dedup_window_ask(dedup_window_t *w, const ulid_t *topic, ensign_slice_t value, buf_t *marked);
/* The append of a new one has failed. */
void dedup_window_failed(dedup_window_t *w, const ulid_t *topic, ensign_slice_t value);
uint64_t dedup_window_serial(const dedup_window_t *w);
void dedup_window_changed(dedup_window_t *w, const topic_t *t);         /* its record, or it is gone */
void dedup_window_close(dedup_window_t *w);
#endif
