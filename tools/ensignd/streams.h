/* streams.h - what Publish and Subscribe share: the topics of a stream, and messages with a prefix */
#ifndef ENSIGND_STREAMS_H
#define ENSIGND_STREAMS_H
#include "messages.h"
#include "service.h"

#define FRAME_PREFIX 5u                 /* bytes in front of a message */
void    stream_put_prefix(uint8_t *p, size_t message_len);
buf_t   stream_framed(msg_kind_t kind, const void *message);   /* empty: it cannot be encoded */
void    stream_send(call_t *c, msg_kind_t kind, const void *message);
/* Appends the event as a SubscribeReply with its prefix. epoch: 0 leaves it and the offset out. */
void    stream_put_event(buf_t *out, const log_event_t *e, uint64_t epoch);

/* Both streams look before they read anything. False: the call has ended. */
bool    stream_may_open(service_t *s, call_t *c);
/* The topics that a filter leaves, as bits; no filter: all of the project but those of dead letters.
   Returns how many. */
size_t  stream_choose(const service_t *s, const call_t *c, ensign_slice_t filter, uint32_t tag, uint8_t *set);
void    stream_put_topics(buf_t *out, const topics_t *all, const uint8_t *set); /* StreamReady.topics */

bool    bits_has(const uint8_t *set, size_t bits, size_t i);
void    bits_set(uint8_t *set, size_t i);
#endif
