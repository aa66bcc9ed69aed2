/* broker.h - published events on their way into the log, and the answers on their way back
 *
 * What arrives in one turn of the loop, for one project, is one append. While the log has an append of a
 * project, what arrives meanwhile waits, and becomes the next one. An event that repeats another is stored as
 * its duplicate (dedup_window.h); where it repeats one of its own append, it goes with the next. Publishers
 * are answered when the log has answered, in the order of their events; subscribers hear of the events from
 * the log (feed.h).
 *
 * A publisher is a pointer that only the hooks understand. It must stay valid until each of its events is
 * answered. */
#ifndef ENSIGND_BROKER_H
#define ENSIGND_BROKER_H
#include "dedup_window.h"

typedef struct broker_hooks_t {
    void (*ack)(void *publisher, ensign_slice_t local_id, stamp_t committed);
    void (*nack)(void *publisher, ensign_slice_t local_id);     /* the log could not store it in time */
} broker_hooks_t;

typedef struct broker_batch_t broker_batch_t;

typedef struct broker_t {
    log_t                *log;
    dedup_window_t       *dedup;
    const broker_hooks_t *hooks;
    broker_batch_t       *batches;      /* of all projects, in the order of their first events */
    broker_batch_t       *spare;
    broker_batch_t       *into;         /* where broker_room gave room */
    uint64_t              handed;       /* appends so far */
    size_t                bytes;        /* that wait for the log to answer what came before */
    uint64_t              total, failed;
} broker_t;

void     broker_open(broker_t *b, log_t *l, dedup_window_t *dedup, const broker_hooks_t *hooks);
/* Room for the next event of the project: its value as the log wants it, then the id by which its publisher
   knows it, then its key for the log. It stands until the next call. */
uint8_t *broker_room(broker_t *b, const ulid_t *project, size_t n);
void     broker_put(broker_t *b, void *publisher, const ulid_t *topic, size_t value_len, size_t local_id_len,
                    size_t key_len);
void     broker_commit(broker_t *b);            /* hands over what may go */
bool     broker_waiting(const broker_t *b);     /* something may go */
/* Whether the log has answered the first `handed` appends. */
bool     broker_answered(const broker_t *b, uint64_t handed);
bool     broker_full(const broker_t *b);        /* publishers have to be held back */
void     broker_close(broker_t *b);
#endif
