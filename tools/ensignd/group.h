/* group.h - consumer groups: their members, who gets which event, and when it comes again
 *
 * Owns   the groups that have members, or that have something left to write; each with its members and its
 *        places (place.h), one for each topic that a member subscribes to. A group without members is a
 *        record in the log, and so is each of its places.
 * Holds  an event is out at one member at most. Members take turns. A member has max_unacked events at most,
 *        and is given no more than its connection's queue takes.
 *        Of AT_MOST_ONCE: an event is handed out only when the record that calls it done is stored.
 *        A group may have a query, all members the same. An event that its WHERE does not take is done
 *        without being handed out. Events are looked at in their turn; the work for that is bounded in each
 *        turn of the loop (FILTER_WORK in filter.h).
 * Moves  a delivery that is nacked, or not acked within ack_wait of its hand-over to the connection, counts;
 *        the event comes again 100 ms later, and each further time twice as late, up to 5 s. After
 *        max_deliver such deliveries it is buried: the hook puts it into the dead-letter topic, and then it
 *        is done. What a member that leaves had, and what was out when the server ended, comes again without
 *        being counted.
 *        A member whose queue has not moved for ack_wait has stalled: its process was stopped, say. What its
 *        connection has not taken comes again without being counted, and the member is given nothing until
 *        its queue is empty. That is delivered all the same when the member goes on, and an ack of it counts.
 * Time   monotonic ms, passed in. */
#ifndef ENSIGND_GROUP_H
#define ENSIGND_GROUP_H
#include "place.h"
#include "select.h"

#define GROUP_ID 16

typedef enum { GROUP_AT_MOST_ONCE = 1, GROUP_AT_LEAST_ONCE = 2 } group_delivery_t;  /* DeliverySemantic */

typedef struct groups_t groups_t;
typedef struct group_t group_t;
typedef struct member_t member_t;

typedef struct group_place_t group_place_t;
struct group_place_t {
    place_t        place;
    group_t       *group;
    size_t         index;               /* of its topic: members have a bit there */
    size_t         members;
    bool           deathless;           /* a dead-letter topic: its events are never buried */
    bool           busy;                /* listed: there is something to do, or there may soon be */
    bool           waited_for;          /* no member of it begins before its record is stored */
    place_event_t *burying;             /* the one that the hook was called for */
    int64_t        bury_due;            /* the hook failed: not before */
    group_place_t *next, **back;        /* of the group */
    group_place_t *next_busy, *next_of_topic;
};

typedef struct group_rules_t {
    size_t   max_unacked, max_groups;   /* events of a member, groups of a project */
    int64_t  ack_wait;                  /* ms; of groups that have none of their own */
    uint32_t max_deliver;
} group_rules_t;

/* `member` is what group_join was given. */
typedef struct group_hooks_t {
    void   (*begin)(void *member);      /* the group is stored: what follows is not missed */
    bool   (*room)(const void *member); /* it takes one more event */
    size_t (*queued)(const void *member);       /* events that its connection has not taken yet */
    void   (*deliver)(void *member, const log_event_t *e);
    void   (*bury)(void *user, group_place_t *p, const place_event_t *e);       /* ends in group_buried */
} group_hooks_t;

typedef struct group_topic_t {
    ulid_t   id;
    size_t   index;
    bool     deathless, has_offset;
    uint64_t offset;                    /* where a new place begins: behind it */
} group_topic_t;

/* What a member wants the group to be. All that it points at is the caller's. */
typedef struct group_wish_t {
    ulid_t           project;
    uint8_t          id[GROUP_ID];
    ensign_slice_t   name;
    group_delivery_t delivery;
    int64_t          ack_wait;          /* ms; 0: whatever the group has */
    ensign_slice_t   query;             /* a Query: its text and parameters; empty: none */
    select_t        *select;            /* the same, parsed; the group may take it, and leaves an empty one */
    const group_topic_t *topics;
    size_t           topic_count;
} group_wish_t;

typedef enum { GROUP_OK, GROUP_DIFFERS, GROUP_TOO_MANY, GROUP_LOCKED } group_result_t;

groups_t *groups_open(log_t *log, const group_rules_t *rules, const group_hooks_t *hooks, void *user);
void      groups_run(groups_t *gs, int64_t now);        /* each turn, before log_run and behind it */
void      groups_sent(groups_t *gs, int64_t now);       /* behind what was sent: hand-overs, and new room */
int64_t   groups_due(const groups_t *gs);               /* when groups_run has to be called; 0: it need not */
bool      groups_busy(const groups_t *gs);              /* something is not stored yet */
void      groups_close(groups_t *gs);                   /* before the log */

/* NULL: *result and *why say why. */
member_t *group_join(groups_t *gs, const group_wish_t *wish, void *user, group_result_t *result, why_t *why);
void      group_leave(member_t *m);
void      groups_topic_gone(groups_t *gs, const ulid_t *topic);  /* with it go its places in memory */
void      group_ack(member_t *m, ensign_slice_t id);
void      group_nack(member_t *m, ensign_slice_t id, int32_t code, int64_t now);       /* Nack.Code */
void      group_buried(group_place_t *p, bool done, int64_t now);   /* not done: once more */

/* Of 16 bytes the id itself, else their hash; of none the hash of the name. */
void group_id_of(ensign_slice_t id, ensign_slice_t name, uint8_t out[GROUP_ID]);

/* A group's record. */
typedef struct group_record_t {
    group_delivery_t delivery;
    int64_t          ack_wait;          /* ms; 0: the server's */
    uint64_t         epoch, begun;      /* places that are made later begin behind `begun`, too */
    ensign_slice_t   name, query;       /* as in a wish */
} group_record_t;
void group_key_put(buf_t *out, const ulid_t *project, const uint8_t id[GROUP_ID]);
bool group_key_read(ensign_slice_t key, ulid_t *project, uint8_t id[GROUP_ID]);
void group_record_put(buf_t *out, const group_record_t *r);
bool group_record_read(group_record_t *r, ensign_slice_t value);

/* For the service Groups. NULL: it is not in memory. */
const char    *group_name(const group_t *g);            /* empty: it was made by an id alone */
const uint8_t *group_id(const group_t *g);              /* GROUP_ID bytes */
const group_t *groups_find(const groups_t *gs, const ulid_t *project, const uint8_t id[GROUP_ID]);
int64_t        groups_ack_wait(const groups_t *gs);     /* ms; of groups that have none of their own */
size_t         group_members(const group_t *g);
bool           group_has_heard(const group_t *g);       /* of all that is committed */
const place_t *group_place(const group_t *g, const ulid_t *topic);
bool           groups_has_place(const groups_t *gs, const place_key_t *key);    /* in memory or in the log */

/* While a lock is set, nobody joins the group, and it leaves the memory as soon as it has no members. */
typedef struct group_lock_t group_lock_t;
struct group_lock_t { ulid_t project; uint8_t id[GROUP_ID]; group_lock_t *next, **back; };
bool groups_is_locked(const groups_t *gs, const ulid_t *project, const uint8_t id[GROUP_ID]);
void groups_lock(groups_t *gs, group_lock_t *lock);
void groups_unlock(group_lock_t *lock);
#endif
