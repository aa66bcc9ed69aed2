/* change.h - a change of the log's metadata that an RPC or a job waits for
 *
 * Owns   its key and value, and a place in the service's list from change_put to change_free.
 * Moves  change_new, change_put, `then` with the answer in put.base; it may put again, else change_free.
 * Call   its state is the change, so that change_closed finds it: `call` is NULL once the call is gone. The
 *        change itself goes on, since it may have happened already. */
#ifndef ENSIGND_CHANGE_H
#define ENSIGND_CHANGE_H
#include "service.h"

typedef struct change_t change_t;
struct change_t {
    log_put_t  put;                     /* first: the log knows this part alone */
    service_t *service;
    call_t    *call;                    /* NULL: nobody waits any more */
    topic_t   *topic;
    job_t     *job;
    void     (*then)(change_t *x);
    buf_t      key, value;              /* to be filled before change_put */
    change_t  *next, **back;
};

change_t *change_new(service_t *s, call_t *c, topic_t *t, void (*then)(change_t *x));  /* c may be NULL */
void      change_put(change_t *x, uint64_t revision);
bool      change_done(const change_t *x);       /* the answer: it is stored */
void      change_end(change_t *x, int status, const char *text);        /* the call, if it still waits */
void      change_free(change_t *x);
#endif
