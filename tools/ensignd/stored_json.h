/* stored_json.h - events, topics and keys as the log keeps them, as JSON objects and back
 *
 * Pure: it asks no log. An event's fields have the names of `ensign subscribe --json`, a topic's those of
 * `ensign topics --json`, a key's those of a file of --keys; `kind` says which of them a line is.
 *
 * Whole   what an object was made of can be made of it again, byte for byte: whoever makes one tries that. An
 *         event whose content its fields do not give again (it is encrypted, say, or encoded in an unusual
 *         way) has its bytes in `event` as well, and then they count; so has a topic its record in `record`,
 *         and an event its whole EventWrapper in `wrapper`. All three are base64.
 * Anew    id, offset and epoch are the log's own: they are told, and a log in which the event is loaded gives
 *         others. The time of the commit is the log's as well, but stays with an event that is carried.
 * Errors  each names the field and says what to give. */
#ifndef ENSIGND_STORED_JSON_H
#define ENSIGND_STORED_JSON_H
#include "keys.h"
#include "topics.h"
#include <jansson.h>

#define DUMP_EVENT "event"
#define DUMP_TOPIC "topic"
#define DUMP_KEY "key"

/* References of the caller's. strict: without the time of the commit. */
json_t *event_to_json(const log_event_t *e, const topic_t *t, uint64_t epoch, bool strict);
/* dead_of: the topic whose dead letters it has, or NULL. */
json_t *topic_to_json(const topic_t *t, const ulid_t *dead_of);
json_t *key_to_json(const api_key_t *k);

/* False: the object has no such field, or it is no ULID; *why says so. */
bool ulid_from_json(json_t *o, const char *name, ulid_t *out, why_t *why);
/* The ids, as they were in the log that the line comes from. */
typedef struct event_ids_t {
    bool   known;                       /* the line tells its own id */
    rlid_t id;
    bool   duplicate;
    rlid_t original;                    /* of a duplicate */
} event_ids_t;
/* Appends the value that the log keeps of an event of `topic`. A duplicate's points at ids->original. */
bool event_from_json(json_t *o, const ulid_t *topic, event_ids_t *ids, buf_t *value, why_t *why);
/* Appends the record. has_dead: the topic has the dead letters of *dead_of. */
bool topic_from_json(json_t *o, buf_t *record, bool *has_dead, ulid_t *dead_of, why_t *why);
bool key_from_json(json_t *o, api_key_t *out, why_t *why);        /* its texts are the caller's to free */
#endif
