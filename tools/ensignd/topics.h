/* topics.h - all topics of all projects, in memory, found by id and by name
 *
 * The log keeps a record for each: its key is "topic/", the project's ULID and the name, so a project has a
 * name once; its value is the Topic message, as replies have it. This table holds what the log knows. It
 * changes when the log tells of a change, whoever made that: topic_state.h asks for one.
 *
 * A topic that is gone keeps its place and its index, since streams may hold both, but is nobody's: its
 * project is zero, and no search finds it. */
#ifndef ENSIGND_TOPICS_H
#define ENSIGND_TOPICS_H
#include "log.h"

typedef struct topic_t {
    ulid_t      id, project;
    char       *name;
    name_hash_t hash;
    size_t      index;              /* counts up from 0 over all topics: a place in bit sets */
    uint8_t    *message;            /* the Topic, encoded as replies have it */
    size_t      message_len;
    bool        readonly;           /* archived */
    bool        dead_letters;       /* those of another topic: it is no part of "all topics" */
    bool        deleting;           /* to be destroyed as soon as its events are; policy.c's */
    int32_t     state;              /* TopicState */
    void      **subscribers;        /* the broker's */
    size_t      subscriber_count, subscriber_cap;
} topic_t;

typedef struct topic_table_t { topic_t **slots; size_t cap; } topic_table_t;

typedef struct topics_t {
    log_t        *log;
    log_watch_t   watch, dead_watch;
    topic_t     **all;              /* by index */
    size_t        count, cap;
    topic_table_t by_id, by_name;
    void        (*changed)(void *user, topic_t *t);     /* made, changed or gone; NULL: nobody hears it */
    void         *user;
} topics_t;

void     topics_open(topics_t *t, log_t *l);           /* must stay where it is */
topic_t *topics_by_id(const topics_t *t, const ulid_t *id);
topic_t *topics_by_name(const topics_t *t, const ulid_t *project, ensign_slice_t name);
/* A topic as people write it: exact name, ULID text, or hash of the name. */
topic_t *topics_lookup(const topics_t *t, const ulid_t *project, ensign_slice_t text);
bool     topic_is_gone(const topic_t *t);
topic_t *topics_gone(const topics_t *t, const ulid_t *id);  /* one that is gone, or NULL */
void     topics_close(topics_t *t);

const char *topic_name_fault(ensign_slice_t name);     /* NULL: a legal name; else the service's text */

#define TOPIC_NAME_MAX 512          /* bytes */

#define TOPIC_PREFIX "topic/"
/* Appends the key of its record. */
void topic_record_key(const ulid_t *project, ensign_slice_t name, buf_t *out);
/* False: it is not a topic's record. The parts point into it. */
bool topic_record_read(ensign_slice_t key, ensign_slice_t value, ulid_t *project, ulid_t *id,
                       ensign_slice_t *name);
/* The record that marks a topic of dead letters; its value is the id of the topic whose letters they are. */
#define TOPIC_DEAD_PREFIX "dead/"
void topic_dead_key(const ulid_t *id, buf_t *out);
/* The note that a topic is to be destroyed, which is there until it is gone. */
#define TOPIC_DESTROY_PREFIX "destroy/"
void topic_destroy_key(const ulid_t *id, buf_t *out);
#endif
