/* jobs.h - work that is too long for one turn of the loop, done in slices between the turns
 *
 * A job is a struct that begins with a job_t. One slice looks at WALK_RECORDS events at most (walk.h). A
 * query may look at a byte often, and counts that: a slice of it ends at WALK_WORK. All jobs take turns; each
 * turn of the loop gives them JOBS_MS together. One that waits, for the log or for another job, has no turn
 * until it is woken. A job whose topic is gone is ended. */
#ifndef ENSIGND_JOBS_H
#define ENSIGND_JOBS_H
#include "service.h"

#define WALK_WORK 4194304u              /* and that of one event more: VIEW_WORK_MAX */

typedef enum {
    JOB_MORE,                           /* it goes on in its next turn */
    JOB_WAIT,                           /* somebody will wake it */
    JOB_DONE,
    JOB_FAILED                          /* the log has the reason */
} job_result_t;

struct job_t {
    job_result_t (*step)(service_t *s, job_t *j);
    void   (*end)(service_t *s, job_t *j, bool done);                   /* frees it */
    topic_t *topic;                     /* NULL: of no single one */
    const void *waits_for;              /* for jobs_wake_all */
    bool     waiting;                   /* it is in the service's list of these, else of the running ones */
    bool     wake_failed;               /* what it waited for has failed */
    job_t   *next, **back;
};

void jobs_add(service_t *s, job_t *j);
void jobs_wake(service_t *s, job_t *j);                         /* it need not be waiting */
void jobs_wake_all(service_t *s, const void *waits_for, bool ok);
#endif
