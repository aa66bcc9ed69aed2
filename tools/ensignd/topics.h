/* topics.h - all topics of all projects, in memory, found by id and by name; each kept in the store when it
   is made or changed
 *
 * A topic that is gone keeps its place and its index, since streams may hold both, but is nobody's: its
 * project is zero, and no search finds it. */
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
    bool        readonly;           /* this and the next two: policy.c's */
    bool        deleting;           /* to be destroyed as soon as its events are */
    int32_t     state;              /* TopicState */
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
topic_t *topics_by_name(const topics_t *t, const ulid_t *project, ensign_slice_t name);
/* A topic as people write it: exact name, ULID text, or hash of the name. */
topic_t *topics_lookup(const topics_t *t, const ulid_t *project, ensign_slice_t text);
topic_t *topics_add(topics_t *t, const ulid_t *id, const ulid_t *project, ensign_slice_t name,
                    ensign_slice_t message, why_t *why);
bool     topics_update(topics_t *t, topic_t *x, ensign_slice_t message, why_t *why);   /* false: as it was */
/* Appends the removal of its record to the store's batch; once that is committed, topics_forget. */
bool     topics_remove(topics_t *t, const topic_t *x, why_t *why);
void     topics_forget(topics_t *t, topic_t *x);
topic_t *topics_gone(const topics_t *t, const ulid_t *id);  /* one that was forgotten, or NULL */
void     topics_close(topics_t *t);

const char *topic_name_fault(ensign_slice_t name);     /* NULL: a legal name; else the service's text */

/* As the store holds it; false: not a topic's record. The parts point into it. */
bool topic_record_read(ensign_slice_t key, ensign_slice_t value, ulid_t *project, ulid_t *id,
                       ensign_slice_t *name, ensign_slice_t *message);
#endif
