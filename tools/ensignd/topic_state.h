/* topic_state.h - what a topic's message says of it, and how a topic that there is is changed */
#ifndef ENSIGND_TOPIC_STATE_H
#define ENSIGND_TOPIC_STATE_H
#include "messages.h"
#include "topics.h"

void topic_note(topic_t *t);                    /* its flags, out of its message */
/* The message as it is kept. False: the topic's cannot be read. */
bool topic_read(const topic_t *t, msg_topic_t *out, why_t *why);
/* Keeps it, with the time of the change; false: all is as it was. */
bool topic_save(topics_t *topics, topic_t *t, msg_topic_t *m, why_t *why);
bool topic_set_state(topics_t *topics, topic_t *t, int32_t state, why_t *why);
#endif
