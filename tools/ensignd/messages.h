/* messages.h - the service's messages, and their codec: that of ensign.h, which lib.c alone compiles
 *
 * message_types.h has the structs msg_x_t and the constants MSG_X; make takes them out of ensign.h, and out of
 * group_messages.h, which has those of ensignd's own service. A message is decoded in place: its slices point
 * into the bytes that were given. A repeated field is one slice, from its first occurrence to the end of its
 * last; msg_next walks it. */
#ifndef ENSIGND_MESSAGES_H
#define ENSIGND_MESSAGES_H
#include "util.h"
#include "message_types.h"

#define MSG_WIRE_BYTES 2                /* wire type of bytes, strings and messages */

/* Those that the server reads or writes by themselves. */
#define MSG_KINDS(X) \
    X(EVENT, event) X(EVENT_METADATA_ENTRY, event_metadata_entry) X(EVENT_WRAPPER, event_wrapper) \
    X(TOPIC, topic) X(TOPIC_NAME, topic_name) X(TOPIC_EXISTS_INFO, topic_exists_info) \
    X(TOPIC_MOD, topic_mod) X(TOPIC_STATUS, topic_status) X(TOPIC_POLICY, topic_policy) \
    X(TOPIC_INFO, topic_info) X(EVENT_TYPE_INFO, event_type_info) X(PROJECT_INFO, project_info) \
    X(INFO_REQUEST, info_request) X(PAGE_INFO, page_info) X(QUERY, query) X(PARAMETER, parameter) \
    X(PUBLISHER_REQUEST, publisher_request) X(PUBLISHER_REPLY, publisher_reply) \
    X(SUBSCRIBE_REQUEST, subscribe_request) X(SUBSCRIBE_REPLY, subscribe_reply) \
    X(CONSUMER_GROUP_TOPIC_OFFSETS_ENTRY, consumer_group_topic_offsets_entry) \
    X(HEALTH_CHECK, health_check) X(SERVICE_STATE, service_state) \
    X(HEALTH_CHECK_REQUEST, health_check_request) X(HEALTH_CHECK_RESPONSE, health_check_response) \
    X(LIST_GROUPS_REQUEST, list_groups_request) X(GROUP, group) X(GROUP_TOPIC, group_topic) \
    X(GROUP_REQUEST, group_request) X(RESET_GROUP_REQUEST, reset_group_request) \
    X(REMOVE_GROUP_REPLY, remove_group_reply)

#define MSG_KIND(upper, lower) MSG_##upper,
typedef enum { MSG_KINDS(MSG_KIND) MSG_KIND_COUNT } msg_kind_t;

/* `message` is of the struct of its kind. */
bool msg_decode(msg_kind_t kind, void *message, ensign_slice_t bytes);  /* zeroes it first */
bool msg_size(msg_kind_t kind, const void *message, size_t *size);
bool msg_encode(msg_kind_t kind, const void *message, uint8_t *out, size_t cap, size_t *size);
bool msg_put(buf_t *out, msg_kind_t kind, const void *message);         /* false: nothing is appended */
void msg_put_field(buf_t *out, uint32_t tag, ensign_slice_t value);     /* an empty one too */

/* The next one of a repeated field. *at starts at 0; at the end, and at a broken field, false for good. */
bool msg_next(ensign_slice_t fields, uint32_t tag, size_t *at, ensign_slice_t *value);

typedef struct msg_item_t { uint32_t tag, wire; ensign_slice_t value; } msg_item_t;
/* Takes the field at *at, of any wire type, and moves *at behind it; false: it is not whole. */
bool msg_item_next(const uint8_t **at, const uint8_t *end, msg_item_t *item);

#define MSG_UNTYPED "Unspecified"
msg_type_t msg_event_type(const msg_event_t *e);        /* MSG_UNTYPED where it is absent or empty */

/* By hand, for what is written with each event. */
size_t   msg_varint_size(uint64_t value);
uint8_t *msg_put_varint(uint8_t *p, uint64_t value);    /* returns where it ends */
size_t   msg_bytes_size(uint32_t tag, size_t len);      /* of a whole field */
uint8_t *msg_put_bytes(uint8_t *p, uint32_t tag, ensign_slice_t value);

/* Padded base64, as JSON has it here; base64url is in ids.h. */
#define BASE64_ROOM(n) (((n) + 2) / 3 * 4 + 1)  /* characters of n bytes, and a NUL */
size_t base64(ensign_slice_t in, char *out);    /* the number of characters */
bool   base64_parse(ensign_slice_t in, uint8_t *out, size_t *len);      /* out: room for as many bytes */
#endif
