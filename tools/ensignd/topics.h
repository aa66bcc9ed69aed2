/* topics.h - all topics of all projects, in memory, found by id and by name; each kept in the store when it
   is made */
#ifndef ENSIGND_TOPICS_H
#define ENSIGND_TOPICS_H
#include "ids.h"
#include "store.h"

typedef struct topic_t {
    ulid_t      id, project;
    char       *name;
    name_hash_t hash;
    size_t      index;              /* counts up from 0 over all topics: a place in bit sets */
    uint8_t    *message;            /* the Topic, encoded as replies have it */
    size_t      message_len;
    void      **subscribers;        /* the broker's */
    size_t      subscriber_count, subscriber_cap;
} topic_t;

typedef struct topic_table_t { topic_t **slots; size_t cap; } topic_table_t;

typedef struct topics_t {
    store_t      *store;
    topic_t     **all;              /* by index */
    size_t        count, cap;
    topic_table_t by_id, by_name;
} topics_t;

bool     topics_open(topics_t *t, store_t *s, why_t *why);
topic_t *topics_by_id(const topics_t *t, const ulid_t *id);
topic_t *topics_by_name(const topics_t *t, const ulid_t *project, bytes_t name);
/* A topic as people write it: exact name, ULID text, or hash of the name. */
topic_t *topics_lookup(const topics_t *t, const ulid_t *project, bytes_t text);
topic_t *topics_add(topics_t *t, const ulid_t *id, const ulid_t *project, bytes_t name, bytes_t message,
                    why_t *why);
void     topics_close(topics_t *t);

const char *topic_name_fault(bytes_t name);     /* NULL: a legal name; else the service's text */

/* As the store holds it; false: not a topic's record. The parts point into it. */
bool topic_record_read(bytes_t key, bytes_t value, ulid_t *project, ulid_t *id, bytes_t *name,
                       bytes_t *message);
#endif
