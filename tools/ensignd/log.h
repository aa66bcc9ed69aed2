/* log.h - where everything is kept: the events of each project in one order, and small records of metadata
 *
 * A log_t is a front (log.c) over one engine. Callers know the front alone; an engine knows its own storage
 * and nothing of gRPC. Whatever may take long is asked for with a request and answered by an event of the
 * loop: a call only notes the request, and its `done` is called later, from log_run, never from inside the
 * call. The loop never waits for a log.
 *
 * Events    An event is appended without an identity. The log gives it an offset, an RLID and a time:
 *           offset   its place in the one sequence of its project, from 1. A later event has a higher one.
 *                    Offsets may skip, so they count nothing.
 *           id       its RLID: the time in ms, and the low 32 bits of the offset. In one project it rises
 *                    with the offset. (Events of folders that are older than this keep the ids that they had.)
 *           Its value is an EventWrapper without id, offset, epoch, committed and local_id. But an event that
 *           was carried here from another log has the time of its commit there (see wrapper.h).
 * Order     Appends of one project are committed in the order in which they were asked for, and answered in
 *           that order. No order holds between requests otherwise: a read that is asked for first may be
 *           answered behind an append that is asked for later.
 * Metadata  Small records by key, all of them in memory: log_get and log_each answer at once, with what this
 *           process knows. log_put changes one if it is still at the revision that the caller saw. A watch
 *           hears of every change, this process's own ones too, before the `done` of the put that made it.
 * Failing   The front asks an engine again until --store-timeout. A request fails only behind that, with the
 *           reason; an append that failed may still have been stored. log_healthy says whether requests are
 *           overdue, and log_full whether so much waits that publishers have to be held back.
 * Epoch     A number that is new when a project's log is made anew. Offsets of two epochs have nothing to do
 *           with each other.
 * Memory    A request belongs to the caller and lives until its `done` or log_cancel; so does what it points
 *           at. What an answer points at lives until `done` returns. `done` may free the request or ask with
 *           it again. */
#ifndef ENSIGND_LOG_H
#define ENSIGND_LOG_H
#include "ids.h"

typedef struct stamp_t { int64_t seconds; int32_t nanos; } stamp_t;

typedef enum {
    LOG_OK,
    LOG_CHANGED,                        /* of a put: somebody else was first; log_get knows that by now */
    LOG_UNSUPPORTED,                    /* the engine lacks it: see log_can_amend */
    LOG_FAILED                          /* why.text says why; an append or a put may still have been stored */
} log_result_t;

typedef struct log_t log_t;
typedef struct log_request_t log_request_t;

/* Each request begins with one. The caller sets done and user; the rest belongs to the log. */
struct log_request_t {
    void       (*done)(log_request_t *r);
    void        *user;
    log_result_t result;                /* the answer */
    why_t        why;
    int          kind, state;           /* log.c's from here on */
    int64_t      asked, again;          /* monotonic ms: when it came, when the engine gets it again */
    uint64_t     serial;                /* its own, from 1; the same when an engine is asked again */
    log_request_t *next, **back;
};

typedef struct log_event_t {            /* as it is read */
    uint64_t       offset;
    ulid_t         topic;
    rlid_t         id;
    stamp_t        committed;
    ensign_slice_t value;
} log_event_t;

typedef struct log_new_t {              /* as it is appended */
    ulid_t         topic;
    ensign_slice_t value;
    uint64_t       offset;              /* the answer; 0: not committed, as far as is known */
    ensign_slice_t key;                 /* that of an event that may have been stored before; empty: none */
} log_new_t;
#define LOG_KEY_MOST 32                 /* bytes of a key */

/* Appends to one project. LOG_OK: all are committed. LOG_FAILED: those without an offset may be missing. */
typedef struct log_append_t {
    log_request_t base;
    ulid_t        project;
    log_new_t    *events;
    size_t        count;
    stamp_t       committed;            /* the answer, by this process's clock; a read may differ */
} log_append_t;

/* Reads events of one project with after < offset <= until, of the named topics alone, in order. */
typedef struct log_read_t {
    log_request_t base;
    ulid_t        project;
    const ulid_t *topics;               /* sorted, as memcmp sorts */
    size_t        topic_count;          /* 0: all */
    uint64_t      after, until;
    bool          by_id;                /* begin at the first event with `id` or a higher one, instead */
    rlid_t        id;
    size_t        most_events;          /* 1 or more */
    size_t        most_bytes;           /* of values, and one event more; 0: no limit */
    const log_event_t *events;          /* the answer */
    size_t        count;
    uint64_t      reached;              /* every event up to here was looked at: the next `after` */
    bool          end;                  /* up to `until`, or the end of the log, there is nothing more */
} log_read_t;

/* Replaces an event's value, where log_can_amend. An event that is gone is no failure: found is false. */
typedef struct log_amend_t {
    log_request_t  base;
    ulid_t         project, topic;
    uint64_t       offset;
    ensign_slice_t value;
    bool           found;               /* the answer */
} log_amend_t;

/* Takes away every event of a topic. */
typedef struct log_destroy_t {
    log_request_t base;
    ulid_t        project, topic;
} log_destroy_t;

/* Sets a record, or removes it where `value` is empty, if it is at `revision` (0: if there is none). */
typedef struct log_put_t {
    log_request_t  base;
    ensign_slice_t key, value;
    uint64_t       revision;            /* LOG_ANY_REVISION: whatever is there; the answer: the new one */
} log_put_t;
#define LOG_ANY_REVISION UINT64_MAX

/* Live events of one project, in order, from the one behind `from` on. The caller sets the first three. */
typedef struct log_follow_t log_follow_t;
struct log_follow_t {
    ulid_t        project;
    void        (*events)(log_follow_t *f, const log_event_t *events, size_t count);    /* in log_run */
    void         *user;
    uint64_t      from;                 /* log.c's: the last one that was given */
    log_follow_t *next, **back;
};

typedef void log_watch_fn_t(void *user, ensign_slice_t key, ensign_slice_t value);  /* empty: removed */
typedef bool log_each_t(void *user, ensign_slice_t key, ensign_slice_t value);      /* false: enough */
typedef struct log_watch_t log_watch_t;
struct log_watch_t { const char *prefix; log_watch_fn_t *changed; void *user; log_watch_t *next; };

typedef enum { LOG_READ, LOG_WRITE } log_mode_t;

typedef struct log_engine_t log_engine_t;
extern const log_engine_t log_sqlite;   /* `where`: a folder; NULL: in memory */
extern const log_engine_t log_late;     /* `where`: a seed; in memory, late, out of order and failing */
extern const log_engine_t log_nats;     /* `where`: nats://host[:port], more of them behind commas */

/* For logs of log_nats that are opened later. `prefix` begins the names of all that is kept, and is not
   copied. replicas: 0: as NATS has servers. window_ms: so long an event's key is remembered; 0: 2 minutes. */
void     log_nats_set(const char *prefix, int replicas, int64_t window_ms);

/* Opens, and reads the metadata; it alone may take its time. WRITE makes what is not there. */
log_t   *log_open(const log_engine_t *engine, const char *where, log_mode_t mode, int64_t timeout_ms,
                  why_t *why);
void     log_run(log_t *l);             /* once a turn, and whenever log_fd is readable: gives the answers */
int      log_fd(const log_t *l);        /* readable when log_run has something to do; -1: never by itself */
int64_t  log_due(const log_t *l);       /* when log_run has to be called, monotonic ms; 0: it need not */
/* What has no answer by now gets none, and its memory may go, in any order. From now on log_run is not
   called, what is asked for is not done, and nothing needs to be cancelled. */
void     log_stop(log_t *l);
void     log_close(log_t *l);           /* it may have been stopped before */

void     log_append(log_t *l, log_append_t *r);
void     log_read(log_t *l, log_read_t *r);
void     log_amend(log_t *l, log_amend_t *r);
void     log_destroy(log_t *l, log_destroy_t *r);
void     log_put(log_t *l, log_put_t *r);
/* No answer comes any more, and the request's memory may go. What it asked for may still happen. Appends
   cannot be cancelled. */
void     log_cancel(log_t *l, log_request_t *r);
void     log_follow(log_t *l, log_follow_t *f);         /* from now on */
void     log_unfollow(log_t *l, log_follow_t *f);

/* False: there is no such record. */
bool     log_get(const log_t *l, ensign_slice_t key, ensign_slice_t *value, uint64_t *revision);
void     log_each(const log_t *l, const char *prefix, log_each_t *each, void *user);    /* by key */
void     log_each_in(const log_t *l, ensign_slice_t prefix, log_each_t *each, void *user);
void     log_watch(log_t *l, log_watch_t *w);           /* lives until log_unwatch, or as long as the log */
void     log_unwatch(log_t *l, log_watch_t *w);

uint64_t log_epoch(const log_t *l, const ulid_t *project);
uint64_t log_last(const log_t *l, const ulid_t *project);       /* the last committed offset; 0: none */
bool     log_can_amend(const log_t *l);
/* Other processes append and put too, at the same time: keys of events have an effect, and what this process
   alone remembers is not all that there is. */
bool     log_is_shared(const log_t *l);
bool     log_healthy(const log_t *l);
bool     log_idle(const log_t *l);      /* all is answered, and followers have heard of it; for tests */
bool     log_full(const log_t *l);
#endif
