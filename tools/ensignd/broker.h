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

typedef struct broker_hooks_t {
    void (*ack)(void *publisher, ensign_slice_t local_id, stamp_t committed);
    void (*nack)(void *publisher, ensign_slice_t local_id);        /* the store failed */
    void (*deliver)(void *subscriber, ensign_slice_t frame);
} broker_hooks_t;

/* Places inside the broker's arena: an event as subscribers get it (frame), its wrapper, a part of that, of
   which the front is stored (stored_len), and the id that its publisher knows it by. */
typedef struct broker_batch_t {
    log_append_t append;
    struct broker_t *broker;
    buf_t        arena;
    struct broker_batch_t *next;
    struct { void *publisher; topic_t *topic; size_t value, value_len, local_id, local_id_len; } *events;
    size_t count, cap;
} broker_batch_t;

typedef struct broker_t {
    log_t *log;
    const broker_hooks_t *hooks;
    broker_batch_t *batch;      /* of this turn */
    size_t under_way;
    uint64_t total, failed;
    bool strict;
} broker_t;

void broker_open(broker_t *b, log_t *l, const broker_hooks_t *hooks);
void broker_put(broker_t *b, void *publisher, topic_t *t, ensign_slice_t value, ensign_slice_t local_id);
bool broker_busy(const broker_t *b);
void broker_commit(broker_t *b);
void broker_subscribe(topic_t *t, void *subscriber);
void broker_unsubscribe(topic_t *t, void *subscriber);
void broker_close(broker_t *b);
#endif
