/* topic_state.h - the record of a topic: how it is made, read and changed */
#ifndef ENSIGND_TOPIC_STATE_H
#define ENSIGND_TOPIC_STATE_H
#include "change.h"
#include "messages.h"

/* Fills a new topic's record into the change: the message with its id, project, times and state. The id that
   `m` has is kept. False: it could not be encoded. To be put at revision 0: it fails where the name is
   taken. */
bool topic_make(change_t *x, const ulid_t *project, msg_topic_t *m);
/* Appends the same message. `m` keeps its id, or has none. */
bool topic_message_put(buf_t *out, const ulid_t *project, msg_topic_t *m);
/* The message as it is kept. False: the topic's cannot be read. */
bool topic_read(const topic_t *t, msg_topic_t *out, why_t *why);
/* Puts the message, with the time of the change, as the topic's record, where that is still the one that this
   process knows: else the change's result is LOG_CHANGED. False: it could not be encoded, and nothing is
   asked. */
bool topic_save(change_t *x, msg_topic_t *m, why_t *why);
bool topic_set_state(change_t *x, int32_t state, why_t *why);
void topic_remove(change_t *x);         /* puts that there is no record */
#endif
