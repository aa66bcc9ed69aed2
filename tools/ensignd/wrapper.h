/* wrapper.h - an event as clients get it: its stored EventWrapper with what the log knows of it around
 *
 * The id stands in front, then the value's topic, then offset and epoch, as the fields are numbered: a client
 * that reads them in that order finds them at once. The time of the commit stands behind. An event that was
 * carried here from another log has that log's time in its value, and it counts. With --strict there
 * is no offset and no epoch, and in a query's rows no time: the real server leaves them out. */
#ifndef ENSIGND_WRAPPER_H
#define ENSIGND_WRAPPER_H
#include "log.h"
#include "messages.h"

typedef struct wrapper_t {
    const log_event_t *event;
    ensign_slice_t before, after;       /* the value around a time of its own */
    uint64_t       epoch;               /* 0: without offset and epoch */
    bool           timed;               /* with the time of the commit */
    stamp_t        committed;
} wrapper_t;
/* `value` is the event's own or, of a duplicate, the restored one; it stays where it is. */
void     wrapper_of(wrapper_t *w, const log_event_t *e, ensign_slice_t value, uint64_t epoch, bool timed);
size_t   wrapper_size(const wrapper_t *w);
uint8_t *wrapper_write(uint8_t *p, const wrapper_t *w);         /* returns where it ends */

/* The same in a decoded one, as a row of a query; the id then points into *e. epoch: ignored where strict. */
void wrapper_complete(msg_event_wrapper_t *w, const log_event_t *e, uint64_t epoch, bool strict);

/* Whether a stored one is a duplicate, whose content has to be restored. */
bool wrapper_is_duplicate(ensign_slice_t value);
/* When an event was committed: in this log, or where it was carried here from. */
stamp_t wrapper_committed(const log_event_t *e);

/* A Timestamp as a field. By hand, for what is written with each event. */
size_t   stamp_size(stamp_t t);         /* with tag and length; the tag is below 16 */
uint8_t *stamp_write(uint8_t *p, uint32_t tag, stamp_t t);
#endif
