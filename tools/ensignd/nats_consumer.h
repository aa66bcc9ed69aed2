/* nats_consumer.h - the messages of a stream in order, by a temporary pull consumer
 *
 * Owns   its consumer at the server, one pull at a time, and the messages that came and were not taken yet.
 * Holds  each message has a higher sequence than the one before; none between two is missing, of those that
 *        the filters take. The server's consumer numbers its deliveries: where a number is missing, or the
 *        server says nothing in time, it is given up.
 * Moves  MAKING -> OPEN; MAKING or OPEN -> BROKEN. A live one asks for messages by itself, for ever, and when
 *        it is BROKEN a new consumer goes on behind the last message that came. Another one asks when its
 *        user says so, and its user closes it when it is BROKEN. */
#ifndef ENSIGND_NATS_CONSUMER_H
#define ENSIGND_NATS_CONSUMER_H
#include "nats_text.h"

typedef struct consumer_t consumer_t;
typedef struct consumers_t { nats_link_t *link; consumer_t **at; size_t count; uint32_t serial; } consumers_t;

typedef struct delivered_t {
    nats_message_t message;             /* its subject is that of the event */
    uint64_t       sequence, when;      /* when: ns since 1970 */
} delivered_t;

typedef enum { CONSUMER_MAKING, CONSUMER_OPEN, CONSUMER_BROKEN } consumer_state_t;
typedef enum { BEGIN_BEHIND, BEGIN_AT_TIME, BEGIN_WITH_LAST } consumer_begin_t;

typedef struct consumer_rules_t {
    const char      *stream;
    const char      *filters;           /* JSON: subjects in quotes with commas between; NULL: all */
    consumer_begin_t begin;             /* WITH_LAST: the last message of each subject first */
    uint64_t         behind;            /* a sequence */
    int64_t          ms;                /* a time, ms since 1970 */
    bool             live;
    void           (*changed)(void *user);      /* it may close the consumer */
    void            *user;
} consumer_rules_t;

void        consumers_open(consumers_t *all, nats_link_t *link);
void        consumers_close(consumers_t *all);          /* with all that there are, but not at the server */
void        consumers_give(consumers_t *all, nats_message_t *m);        /* a message that came is taken */
void        consumers_run(consumers_t *all);            /* live ones that are BROKEN begin anew */
int64_t     consumers_due(const consumers_t *all);      /* when it has to be called; 0: it need not */

consumer_t *consumer_open(consumers_t *all, const consumer_rules_t *rules);
void        consumer_close(consumer_t *c);
consumer_state_t consumer_state(const consumer_t *c);
const char *consumer_fault(const consumer_t *c);        /* why it is BROKEN */
uint64_t    consumer_pending(const consumer_t *c);      /* messages behind the last one that came */
bool        consumer_waits(const consumer_t *c);        /* it is being made, or has asked for messages */
/* Asks for so many. `wait`: also for those that are not there yet, for a second. */
void        consumer_pull(consumer_t *c, size_t count, bool wait);
delivered_t *consumer_first(consumer_t *c);             /* NULL: none waits */
void        consumer_drop_first(consumer_t *c);         /* frees its message, unless somebody has taken it */
#endif
