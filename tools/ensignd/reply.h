/* reply.h - what the RPCs with one answer share: a message read, a message written */
#ifndef ENSIGND_REPLY_H
#define ENSIGND_REPLY_H
#include "messages.h"
#include "service.h"

bool decode(call_t *c, msg_kind_t kind, void *message, ensign_slice_t bytes);  /* false: the call has ended */
void reply(call_t *c, msg_kind_t kind, const void *message);                   /* and the call ends */
/* For an RPC that does not answer at once: the client has said all, and must have said something. */
void wait_half_close(service_t *s, call_t *c);
msg_timestamp_t wall_in(int64_t seconds);       /* so long from now */
#endif
