/* messages.h - the messages of ensignd's service Groups, and their codec: that of ensign.h, by lib.c
 *
 * message_types.h has the structs msg_x_t and the constants MSG_X; make takes them out of ensign.h and of
 * group_messages.h. A message is decoded in place: its slices point into the bytes that were given. A
 * repeated field is one slice, from its first occurrence to the end of its last; message_next walks it. */
#ifndef ENSIGN_CLI_MESSAGES_H
#define ENSIGN_CLI_MESSAGES_H
#include "text.h"
#include "message_types.h"

typedef enum {
    MESSAGE_GROUP, MESSAGE_GROUP_TOPIC, MESSAGE_GROUP_REQUEST, MESSAGE_RESET_GROUP_REQUEST
} message_kind_t;

/* `message` is of the struct of its kind. */
bool message_decode(message_kind_t kind, void *message, ensign_slice_t bytes);  /* zeroes it first */
/* The bytes are kept, as x_keep has it. Its repeated fields must be whole. */
ensign_slice_t message_encode(message_kind_t kind, const void *message);

/* The next one of a repeated field. *at starts at 0; at the end, and at a broken field, false for good. */
bool     message_next(ensign_slice_t fields, uint32_t tag, size_t *at, ensign_slice_t *value);
size_t   message_bytes_size(uint32_t tag, size_t len);  /* of a whole field */
uint8_t *message_put_bytes(uint8_t *p, uint32_t tag, ensign_slice_t value);     /* returns where it ends */
#endif
