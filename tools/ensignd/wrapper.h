/* wrapper.h - an event as clients get it: its stored EventWrapper with what the log knows of it around
 *
 * In front stand id, offset and epoch, behind it the time of the commit. With --strict there is the id
 * alone: the real server leaves the others out of its rows. */
#ifndef ENSIGND_WRAPPER_H
#define ENSIGND_WRAPPER_H
#include "log.h"
#include "messages.h"

/* `value` is the event's own or, of a duplicate, the restored one; epoch: ignored where strict. */
void wrapper_put(buf_t *out, const log_event_t *e, ensign_slice_t value, uint64_t epoch, bool strict);
/* The same for a decoded one; the id then points into *e. */
void wrapper_complete(msg_event_wrapper_t *w, const log_event_t *e, uint64_t epoch, bool strict);
#endif
