/* jobs.h - work that is too long for one turn of the loop, done in slices between the turns
 *
 * A job is a struct that begins with a job_t. One slice looks at WALK_RECORDS records or WALK_BYTES bytes at
 * most, and ends with its own commit. A query may look at a byte often, and counts that, too: a slice of it
 * ends at WALK_WORK. All jobs take turns; each turn of the loop gives them JOBS_MS together. A job whose
 * topic is gone is ended. */
#ifndef ENSIGND_JOBS_H
#define ENSIGND_JOBS_H
#include "service.h"

#define EVENT_KEY 26                    /* topic ULID, RLID */
#define WALK_RECORDS 256
#define WALK_BYTES 1048576u             /* and one record more */
#define WALK_WORK 4194304u              /* and that of one record more: VIEW_WORK_MAX */

struct job_t {
    bool   (*step)(service_t *s, job_t *j, bool *more, why_t *why);     /* false: it failed */
    void   (*end)(service_t *s, job_t *j, bool done);                   /* frees it */
    topic_t *topic;                     /* NULL: of no single one */
    job_t   *next;
};

void jobs_add(service_t *s, job_t *j);

/* A topic's events in the order of their ids, a batch at a time: copies, so that the store may be written to
   and searched while they are looked at. */
typedef struct walk_t {
    const topic_t *topic;
    uint8_t after[EVENT_KEY], until[EVENT_KEY];     /* the last one read; the last one wanted */
    bool    begun, before;              /* `after` is one; `until` is not wanted itself */
    buf_t   bytes;
    size_t  count;
    struct { size_t key, value, len; } at[WALK_RECORDS];
} walk_t;

void    walk_start(walk_t *w, const topic_t *t, const rlid_t *until);
bool    walk_next(walk_t *w, store_t *s, why_t *why);   /* no record read: it is over */
ensign_slice_t walk_key(const walk_t *w, size_t i);
ensign_slice_t walk_value(const walk_t *w, size_t i);
void    walk_free(walk_t *w);

void event_key(const topic_t *t, ensign_slice_t rlid, uint8_t key[EVENT_KEY]); /* rlid: 10 bytes */
#endif
