/* broker.h - the events between their arrival and their commit, and who hears of them
 *
 * What arrives in one turn of the loop is one batch: one append, one commit. Only behind the commit are
 * publishers acked and subscribers served, in the order of arrival, which is a total order over all topics.
 *
 * Publishers and subscribers are pointers that only the hooks understand. They must stay valid until the
 * commit that follows, even where the stream has ended: the hook then finds that and does nothing. */
#ifndef ENSIGND_BROKER_H
#define ENSIGND_BROKER_H
#include "topics.h"

typedef struct stamp_t { int64_t seconds; int32_t nanos; } stamp_t;

typedef struct broker_hooks_t {
    void (*ack)(void *publisher, ensign_slice_t local_id, stamp_t committed);
    void (*nack)(void *publisher, ensign_slice_t local_id);        /* the store failed */
    void (*deliver)(void *subscriber, ensign_slice_t frame);       /* a gRPC message, with its prefix */
} broker_hooks_t;

/* Places inside the broker's arena: an event as subscribers get it (frame), its wrapper, a part of that, of
   which the front is stored (stored_len), and the id that its publisher knows it by. */
typedef struct broker_event_t {
    void    *publisher;
    topic_t *topic;
    rlid_t   id;
    size_t   frame, frame_len, wrapper, wrapper_len, stored_len, local_id, local_id_len;
} broker_event_t;

typedef struct broker_t {
    store_t              *store;
    const broker_hooks_t *hooks;
    buf_t                 arena;
    broker_event_t       *events;
    store_record_t       *records;      /* scratch of the commit */
    uint8_t              *keys;
    size_t                count, cap;
    uint32_t              sequence;
    int64_t               last_ms;      /* no id is below the one before, even if the clock goes back */
    stamp_t               now;          /* of the batch */
    uint64_t              total, failed;
} broker_t;

bool    broker_open(broker_t *b, store_t *s, const topics_t *t, const broker_hooks_t *hooks, why_t *why);
void    broker_next(broker_t *b, rlid_t *id, stamp_t *committed);       /* for the next event of the batch */
rlid_t  broker_last(const broker_t *b);         /* no event has a higher id yet; the next ones will */
uint8_t *broker_room(broker_t *b, size_t n, size_t *at); /* room in the arena, and its place there */
void    broker_put(broker_t *b, const broker_event_t *e, size_t arena_end);
void    broker_commit(broker_t *b);
void    broker_subscribe(topic_t *t, void *subscriber);
void    broker_unsubscribe(topic_t *t, void *subscriber);
void    broker_close(broker_t *b);
#endif
