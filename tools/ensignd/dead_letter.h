/* dead_letter.h - the events that a group could not deliver, published to a topic of their own
 *
 * Topic    that of NAME is NAME-dead, in the same project. Where that is longer than a topic's name may be,
 *          NAME is cut, and the hash of the whole of it stands behind it. It is made when it is needed,
 *          whatever the keys of the project may do; one of that name that is there already is taken. A record
 *          of the log, "dead/" and the topic's id, marks it: topics_open looks for it.
 * Event    the Event as it was, with the reason behind its metadata: the keys DEAD_X. One whose Event cannot
 *          be read, or is encrypted, signed or compressed, would be spoilt by that: its whole EventWrapper
 *          becomes the data of a new Event, of the type EventWrapper and application/protobuf.
 * Once     the place has it in its record that the event is on its way, before it is published. Where it may
 *          have been published before, the dead-letter topic is read first, from where the log ended then. */
#ifndef ENSIGND_DEAD_LETTER_H
#define ENSIGND_DEAD_LETTER_H
#include "group.h"
#include "service.h"

#define DEAD_REASON "ensignd-dead-reason"           /* the name of the last Nack.Code; TIMEOUT: no ack came */
#define DEAD_DELIVERIES "ensignd-dead-deliveries"   /* how many failed */
#define DEAD_GROUP "ensignd-dead-group"             /* its name, where it has one */
#define DEAD_GROUP_ID "ensignd-dead-group-id"       /* base64url */
#define DEAD_TOPIC "ensignd-dead-topic"             /* where it was: name and id, offset and id */
#define DEAD_TOPIC_ID "ensignd-dead-topic-id"
#define DEAD_OFFSET "ensignd-dead-offset"
#define DEAD_ID "ensignd-dead-id"

void dead_letter_bury(void *service, group_place_t *p, const place_event_t *e);     /* a group's hook */
void dead_letters_free(service_t *s);           /* the server ends: the log answers nothing more */

/* The name of a topic's dead-letter topic. */
void dead_letter_name(ensign_slice_t name, buf_t *out);

typedef struct dead_reason_t {
    const char     *group;
    const uint8_t  *group_id;
    ensign_slice_t  topic;              /* name */
    ulid_t          topic_id;
    uint64_t        offset;
    rlid_t          id;
    int32_t         code;
    uint32_t        deliveries;
} dead_reason_t;

/* Appends the EventWrapper of the dead letter of a stored one. */
bool dead_letter_put(buf_t *out, ensign_slice_t stored, const ulid_t *dead_topic, const dead_reason_t *why);
/* Is this stored EventWrapper the dead letter of that event? */
bool dead_letter_is(ensign_slice_t stored, const dead_reason_t *why);
#endif
