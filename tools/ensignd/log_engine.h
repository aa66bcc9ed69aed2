/* log_engine.h - what an engine of log.h gives its front
 *
 * The front hands a request over by one of the calls. The engine answers each exactly once, with log_answer,
 * inside the call or at any time later, in any order but that of appends; it keeps no pointer to a request
 * behind the answer or behind `cancel`. LOG_FAILED means "not this time": the front hands the request over
 * again until it is due. When an append fails, the engine fails those of its project behind it too that it
 * has by then: else they would be stored before it. An append or a put that is handed over again must not be
 * stored twice, and a put that was stored is not LOG_CHANGED: `serial` tells that it is the same. What a read
 * points at stays as it is until the next `run`. log_told and log_known are for `open` and `run` alone;
 * followers and watches may hand over more requests, and cancel some, while they hear. */
#ifndef ENSIGND_LOG_ENGINE_H
#define ENSIGND_LOG_ENGINE_H
#include "log.h"

struct log_engine_t {
    const char *name;
    bool   can_amend;
    bool   shared;                      /* other processes append and put too: see log_is_shared */
    void *(*open)(log_t *front, const char *where, log_mode_t mode, why_t *why);        /* NULL: it failed */
    void  (*append)(void *engine, log_append_t *r);
    void  (*read)(void *engine, log_read_t *r);
    void  (*amend)(void *engine, log_amend_t *r);
    void  (*destroy)(void *engine, log_destroy_t *r);
    void  (*put)(void *engine, log_put_t *r);
    void  (*cancel)(void *engine, log_request_t *r);
    void  (*follow)(void *engine, const ulid_t *project);       /* log_told from now on */
    void  (*run)(void *engine);         /* once a turn, before answers are given: commit what was asked for */
    int   (*fd)(const void *engine);    /* -1: none */
    int64_t (*due)(const void *engine); /* when run has to be called; 0: it need not */
    uint64_t (*epoch)(void *engine, const ulid_t *project);
    uint64_t (*last)(void *engine, const ulid_t *project);
    void  (*close)(void *engine);
};

/* For engines. */
/* `why` is of LOG_FAILED. */
void log_answer(log_t *front, log_request_t *r, log_result_t result, const char *why);
/* Events that were committed, in order. */
void log_told(log_t *front, const ulid_t *project, const log_event_t *events, size_t count);
/* Metadata. An empty value: the record is gone. */
void log_known(log_t *front, ensign_slice_t key, ensign_slice_t value, uint64_t revision);
#endif
