/* kept.h - one record of the log's metadata that follows what its owner has in memory
 *
 * The owner says when something changed; the record is made and put when kept_run comes. One put is under way
 * at most: what changes meanwhile is written by the next one. Nobody else may write the record. */
#ifndef ENSIGND_KEPT_H
#define ENSIGND_KEPT_H
#include "log.h"

typedef struct kept_t kept_t;
struct kept_t {
    void   (*make)(kept_t *k, buf_t *value);    /* appends what is to be written */
    void   (*done)(kept_t *k);          /* a put has been answered: run it again, and look at `stored` */
    void    *user;
    log_t   *log;
    log_put_t put;
    buf_t    key, value;
    bool     putting;
    uint64_t revision;
    uint64_t version, put_version, stored;      /* of what is in memory, of the put, and what is committed */
};

/* The caller has filled `key` and set the first three. True: there is such a record, and *value is it. */
bool kept_open(kept_t *k, log_t *log, ensign_slice_t *value);
void kept_change(kept_t *k);
void kept_run(kept_t *k);
bool kept_is_stored(const kept_t *k);   /* nothing waits to be written */
void kept_close(kept_t *k);             /* what is not written yet is not written */
#endif
