/* nats_engine.h - what the files of the engine on NATS share; nobody else includes it
 *
 * log_nats.c     the start, the streams of projects, followers, destruction; what log_engine.h asks for
 * nats_append.c  appends      nats_read.c  reads      nats_records.c  metadata
 *
 * PREFIX is that of --project-prefix [ensign]; PROJECT and TOPIC are ULIDs as text.
 *
 * Streams   PREFIX_PROJECT holds a project's events: TOPIC's have the subject PREFIX.PROJECT.TOPIC. It is
 *           made before the first topic's record is. Its sequence is the offset, its time the commit's, and
 *           its `created` the epoch. KV_PREFIX holds the metadata: a record's subject is $KV.PREFIX. and
 *           its key in base64url, its revision the sequence. A removed record is a message without data, as
 *           in NATS's own buckets.
 * Moves     A project is UNKNOWN until a request to its stream has brought KNOWN or MISSING. What was asked
 *           for meanwhile waits, and the files' nats_..._resolved go on with it. KNOWN becomes UNKNOWN
 *           when its stream seems to be gone. */
#ifndef ENSIGND_NATS_ENGINE_H
#define ENSIGND_NATS_ENGINE_H
#include "log_engine.h"
#include "nats_consumer.h"

#define NATS_API_MS 5000                /* limits of one request */
#define NATS_AGAIN_MS 250
#define NATS_SUBJECT_BYTES 256          /* that of a record can be longer */
#define NATS_UNREACHED "NATS cannot be reached"

typedef struct nats_append_t nats_append_t;     /* nats_append.c */
typedef struct nats_put_t nats_put_t;           /* nats_records.c */
typedef struct nats_read_t nats_read_t;         /* nats_read.c */
typedef struct nats_cursor_t nats_cursor_t;
typedef struct nats_page_t nats_page_t;
typedef struct nats_destroy_t nats_destroy_t;   /* log_nats.c */

typedef enum { PROJECT_UNKNOWN, PROJECT_ASKED, PROJECT_MISSING, PROJECT_KNOWN } project_state_t;

typedef struct nats_project_t {
    struct nats_t  *engine;
    ulid_t          id;
    char           *stream, *subject;   /* subject: PREFIX.PROJECT */
    project_state_t state;
    bool            make;               /* where it is MISSING it is to be made */
    int             replicas;
    uint64_t        epoch, last;
    consumer_t     *follower;
    bool            followed;           /* by the front */
    nats_append_t  *appends, **appends_end;     /* in the order of asking */
    bool            failing;            /* nothing is sent until what is in flight has ended */
    why_t           why;
    size_t          flying;             /* events without an answer */
} nats_project_t;

typedef struct nats_t {
    log_t           *front;
    log_mode_t       mode;
    nats_link_t     *link;
    consumers_t      consumers;
    char            *prefix;
    int              replicas;
    int64_t          window_ms;
    nats_project_t **projects;
    size_t           project_count;
    consumer_t      *watch;             /* of the records */
    uint64_t         watched;           /* the front knows all records up to this revision */
    int64_t          watch_again;       /* monotonic ms: the next record waits for that; 0: it does not */
    nats_put_t      *puts;
    nats_read_t     *reads;
    nats_cursor_t   *cursors;
    nats_page_t     *pages, *old_pages; /* of reads that were answered: behind the last run; before it */
    nats_destroy_t  *destroys;
} nats_t;

/* Asks for the project's stream, where it is not KNOWN, and has it made where it is MISSING and `make` says
   so. Returns the state. ASKED: nats_..._resolved are called later. UNKNOWN: NATS cannot be reached. */
project_state_t  nats_ensure(nats_project_t *p, bool make);
nats_project_t  *nats_project(nats_t *e, const ulid_t *id);
void             nats_forget_stream(nats_project_t *p);         /* it may be gone: it is asked for anew */
void             nats_project_last(nats_project_t *p, uint64_t sequence);
/* An event that came, without its value's bytes moving. False: it is of no topic. */
bool             nats_event_of(const nats_project_t *p, const char *subject, uint64_t sequence, uint64_t when,
                               ensign_slice_t value, log_event_t *out);
/* A request to $JS.API of a stream; the body is JSON. */
uint64_t         nats_api(nats_t *e, const char *what, const char *stream, const char *body, int64_t limit,
                          nats_reply_fn_t *done, void *user);

/* KNOWN: go on. MISSING: there is no stream. UNKNOWN: `why` tells what failed. */
void nats_appends_resolved(nats_project_t *p, const char *why);
void nats_reads_resolved(nats_project_t *p, const char *why);
void nats_puts_resolved(nats_project_t *p, const char *why);

void nats_append(void *engine, log_append_t *r);
bool nats_append_cancel(nats_t *e, const log_request_t *r);
void nats_appends_free(nats_project_t *p);

void nats_read(void *engine, log_read_t *r);
bool nats_read_cancel(nats_t *e, const log_request_t *r);
void nats_pages_age(nats_t *e);         /* once a run */
void nats_reads_free(nats_t *e);

void nats_put(void *engine, log_put_t *r);
bool nats_put_cancel(nats_t *e, const log_request_t *r);
void nats_watch_open(nats_t *e);
void nats_watch_run(void *engine);      /* gives the records that came to the front */
void nats_puts_free(nats_t *e);
#endif
