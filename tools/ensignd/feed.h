/* feed.h - events out of the log to those that read them, live and from any place
 *
 * A feed follows a project, once for all readers of it. A reader gets each event of its topics that stands
 * behind its place, once and in order: live, as the feed hears it; or, while it is behind, out of the log. It
 * falls behind when it does not take an event, and is live again when it has caught up. So nothing is kept
 * for a slow reader but its place.
 *
 * A duplicate of an earlier event is stored without what the original says: it is made whole before it is
 * given. One whose original is gone is left out, as in queries. */
#ifndef ENSIGND_FEED_H
#define ENSIGND_FEED_H
#include "topics.h"

typedef struct feed_t feed_t;
typedef struct reader_t reader_t;

typedef struct feeds_t {
    log_t          *log;
    const topics_t *topics;
    bool            strict;             /* frames as the real server has them */
    feed_t         *first;
} feeds_t;

typedef struct reader_hooks_t {
    bool (*take)(reader_t *r, const log_event_t *e);    /* false: not now; it comes again */
    void (*behind)(reader_t *r);        /* it stands still until reader_more: when there is room */
    void (*found)(reader_t *r);         /* the answer to reader_find: its place */
} reader_hooks_t;

struct reader_t {
    const reader_hooks_t *hooks;        /* the caller's, as is `user` */
    void       *user;
    feed_t     *feed;                   /* NULL: it is not open */
    topic_t   **topics;                 /* by id */
    size_t      count;
    uint64_t    place;                  /* all of its events up to here are taken, or not wanted */
    uint64_t   *behind;                 /* of each topic the place where it begins; NULL: `place` says it */
    bool        started, live;
    ulid_t     *ids;                    /* of the topics, while it reads the log */
    log_read_t  read;
    bool        asked;                  /* `read` has no answer yet */
    size_t      page;                   /* events that it reads at a time */
    uint64_t    skip;                   /* of reader_find */
    log_event_t duplicate;              /* the one that is being made whole */
    buf_t       bytes;
};

/* It begins behind what is committed by now. `topics` is the reader's from here on. */
void reader_open(reader_t *r, feeds_t *f, const ulid_t *project, topic_t **topics, size_t count);
void reader_close(reader_t *r);

/* Before reader_start: where it begins. */
void reader_set(reader_t *r, const topic_t *t, uint64_t offset);        /* in this topic behind it */
void reader_find(reader_t *r, uint64_t skip);   /* in its one topic, behind so many events: see `found` */

void reader_start(reader_t *r);
void reader_more(reader_t *r, size_t most_events);

uint64_t reader_epoch(const reader_t *r);
/* The event as a gRPC message: SubscribeReply { event }. It stands until the next one is given. */
ensign_slice_t reader_frame(reader_t *r, const log_event_t *e);
#endif
