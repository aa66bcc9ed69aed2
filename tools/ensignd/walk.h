/* walk.h - a topic's events for a job, in their order, a page of the log at a time
 *
 * Owns   a copy of the page, and of the one event that was looked up last; at most one question to the log.
 * Moves  walk_peek gives the event that is next, walk_take goes behind it. walk_original looks an event up
 *        by its id. Where they have to ask the log they return JOB_WAIT, which the job's step returns in its
 *        turn; the job is woken by the answer, and asks for the same again. */
#ifndef ENSIGND_WALK_H
#define ENSIGND_WALK_H
#include "jobs.h"

#define WALK_RECORDS 256                /* of one slice of a job */
#define WALK_BYTES 524288u              /* of a page, and one event more */

typedef struct walk_event_t { log_event_t event; size_t at; } walk_event_t;

typedef struct walk_t {
    service_t    *service;
    job_t        *job;
    ulid_t        project, topic;
    log_read_t    page, lookup;
    size_t        page_events, page_bytes;      /* most of the next page; [WALK_RECORDS, WALK_BYTES] */
    log_request_t *asked;               /* that has no answer yet; NULL: none */
    bool          failed;
    why_t         why;
    uint64_t      taken;                /* all up to this offset is done */
    uint64_t      until;
    buf_t         bytes;                /* the values of the page */
    walk_event_t *events;
    size_t        count, cap, at;
    bool          end;                  /* nothing stands behind the page */
    rlid_t        looked_up;
    bool          has_original;         /* `original` is the answer for `looked_up`; empty: it is not there */
    buf_t         original;
} walk_t;

/* Events behind `after`, up to `until`. */
void walk_start(walk_t *w, service_t *s, job_t *j, const topic_t *t, uint64_t after, uint64_t until);
job_result_t walk_peek(walk_t *w, log_event_t *e);      /* JOB_MORE: *e stands until walk_take */
void walk_take(walk_t *w);
/* JOB_MORE: *value is the event's, empty where it is not there; it stands until the next call. */
job_result_t walk_original(walk_t *w, const rlid_t *id, ensign_slice_t *value);
void walk_free(walk_t *w);
#endif
