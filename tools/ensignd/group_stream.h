/* group_stream.h - a Subscribe stream that is a member of a consumer group; never with --strict
 *
 * Its events come from group.h, and its acks and nacks go there. `ready` leaves when the group is stored:
 * what is published behind it is not missed, whatever happens to the server. Where a place is to be made at
 * the OFFSET of the group's query, that is looked for before the stream joins. */
#ifndef ENSIGND_GROUP_STREAM_H
#define ENSIGND_GROUP_STREAM_H
#include "group.h"
#include "service.h"

typedef struct group_stream_t group_stream_t;

void groups_start(service_t *s, const group_rules_t *rules);    /* from now on there are groups */
bool group_is_asked(const msg_subscription_t *request);         /* it names one, or gives its id */
/* NULL: the call has its status. `ready` is a frame, and the stream's from here on; so is *select, the query
   of the request, which is empty behind this. A query has one topic. */
group_stream_t *group_stream_open(service_t *s, call_t *c, const msg_subscription_t *request,
                                  topic_t *const *topics, size_t count, buf_t ready, select_t *select);
void group_stream_message(group_stream_t *g, const msg_subscribe_request_t *request);
void group_stream_close(group_stream_t *g);
#endif
