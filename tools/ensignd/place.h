/* place.h - a group's place in one topic: which events are done, which are out, which come again
 *
 * Floor     every event of the topic up to it is done. The place knows what lies above: a window of events,
 *           oldest first, each in one of the states below. It reads the topic page by page until it has
 *           caught up; from then on it takes each event as it is told of it.
 * Record    the floor, what is done above it, and how often the others were tried, are kept in the metadata
 *           of the log. One put is under way at most; what changes meanwhile is written by the next one. So a
 *           server that is killed delivers again what was not done, and what was done and not committed yet.
 * Bounds    PLACE_EVENTS events above the floor: a place that has so many waits until the oldest are done.
 *           Values are kept of events that wait to be handed out, PLACE_AHEAD of them, and of all places of a
 *           group together PLACE_BYTES, beside what one read brought; others are read again when they are
 *           due.
 * Duplicates  of an earlier event are stored without what the original says. One is made whole when its turn
 *           comes. One whose original is gone counts as done, as it is left out elsewhere.
 * Time      monotonic ms, passed in. */
#ifndef ENSIGND_PLACE_H
#define ENSIGND_PLACE_H
#include "kept.h"

#define PLACE_EVENTS 16384u
#define PLACE_AHEAD 256u
#define PLACE_BYTES (4u << 20)
#define PLACE_PAGE (256u << 10)         /* bytes of one read, and one event more */
#define PLACE_REFUSALS 4u               /* members that one event remembers */

typedef struct place_t place_t;
typedef struct place_event_t place_event_t;

typedef enum {
    PLACE_READY,                        /* to be handed out */
    PLACE_CLAIMED,                      /* the same, and done already as soon as its record is stored */
    PLACE_OUT,                          /* at a member */
    PLACE_WAIT,                         /* ready again at `due` */
    PLACE_DEAD,                         /* to go to the dead-letter topic */
    PLACE_DONE,
    PLACE_STATES
} place_state_t;

struct place_event_t {
    place_t      *place;
    uint64_t      index;                /* counts the events that the place has seen */
    uint64_t      offset;
    rlid_t        id;
    stamp_t       committed;
    uint8_t      *value;                /* NULL: it has to be read */
    size_t        len;
    bool          duplicate;            /* its value has to be made whole */
    place_state_t state;
    uint32_t      failures;             /* deliveries that were nacked or timed out */
    int32_t       code;                 /* why the last one failed: a Nack.Code of a subscriber */
    uint64_t      version;              /* of the record that says that it is claimed, or dead */
    uint64_t      since;                /* DEAD: its dead letter has a higher offset */
    bool          tried;                /* DEAD: it may lie there already */
    bool          given;                /* it was out before */
    bool          wanted;               /* the group's query takes it; group.c's */
    bool          burying;              /* DEAD: it and its value stay until group.c takes this back */
    int64_t       due;                  /* WAIT: see there. OUT: when it times out; 0: not handed over yet */
    uint32_t      refusals[PLACE_REFUSALS];     /* serials of members that do not want it; 0: none */
    /* Where it is out; group.c's. */
    struct member_t *holder;
    uint64_t       number;              /* counts what the holder was given */
    place_event_t *next, **back;
};

typedef struct place_key_t { ulid_t project; uint8_t group[16]; ulid_t topic; } place_key_t;

/* What a record says. */
typedef struct place_range_t { uint64_t first, last; } place_range_t;      /* offsets; all is done */
typedef struct place_mark_t { uint64_t offset, failures, since; int32_t code; bool dead; } place_mark_t;
typedef struct place_record_t {
    uint64_t       epoch, floor, redeliveries, dead_letters;
    place_range_t *ranges;              /* both by offset */
    place_mark_t  *marks;
    size_t         range_count, mark_count;
} place_record_t;

struct place_t {
    log_t         *log;
    place_key_t    key;
    uint64_t       floor, read_to;      /* what lies above read_to is not in the window yet */
    uint64_t       told;                /* the last offset that is known to be there */
    bool           live;                /* there is nothing above read_to */
    rlid_t         last_id;             /* of the window's last event ever */
    place_event_t **at;                 /* a ring; by index */
    uint64_t       begin, end;          /* indices */
    uint64_t       ready_from, missing_from;    /* no event below is ready, or has its value missing */
    size_t         cap, counts[PLACE_STATES], held, missing;
    size_t        *bytes;               /* of values, in all places of the group */
    int64_t        wait_due;            /* none that waits is due before; 0: none waits */
    place_record_t saved;               /* what was found and lies above read_to */
    size_t         range_at, mark_at;
    uint64_t       redeliveries, dead_letters;
    kept_t         record;
    log_read_t     read;
    bool           reading;
    uint64_t       restoring;           /* offset of the duplicate whose original is being read */
    bool           idle;                /* nobody takes events: nothing is read */
    bool           removed;             /* its topic is gone, and its record shall be */
    void         (*touched)(place_t *p);        /* there is something to run, or to hand out */
    bool         (*is_done)(place_t *p, const rlid_t *id);      /* was a new event acked before? */
};

/* Finds the record, or makes one that begins behind `begin`. The caller has set the hooks, `bytes` and
   `told`. */
void place_open(place_t *p, log_t *log, const place_key_t *key, uint64_t begin);
void place_close(place_t *p);           /* what is not stored yet is not stored */
void place_told(place_t *p, const log_event_t *e);      /* live, in order */
void place_wake(place_t *p, int64_t now);       /* what waited long enough is ready */
int64_t place_run(place_t *p);          /* reads and writes; returns when place_wake is due, or 0 */
bool place_is_stored(const place_t *p); /* nothing waits to be written */

/* The first event from *index on that can be handed out; *index moves behind it. NULL: there is none, or one
   before it has to be read first: the order holds as far as it can. */
place_event_t *place_next(place_t *p, uint64_t *index);
place_event_t *place_next_dead(place_t *p);             /* with its mark stored and its value here */
place_event_t *place_find(const place_t *p, const rlid_t *id);
size_t place_pending(const place_t *p);

void place_claim(place_t *p, place_event_t *e);
void place_out(place_t *p, place_event_t *e);
void place_again(place_t *p, place_event_t *e, int64_t due);    /* 0: ready at once */
void place_dead(place_t *p, place_event_t *e, uint64_t since);
void place_done(place_t *p, place_event_t *e);          /* e may be gone when it returns */
place_event_t *place_at(const place_t *p, uint64_t index);      /* from begin on, below end */
void place_remove(place_t *p);          /* nothing is out; it is idle from now on */
void place_idle(place_t *p, bool idle);                 /* idle: nothing is out, and claims are taken back */

/* As the log keeps it. The caller frees both. */
void place_key_put(buf_t *out, const place_key_t *key);
bool place_key_read(ensign_slice_t bytes, place_key_t *key);
void place_record_put(buf_t *out, const place_record_t *r);
bool place_record_read(place_record_t *r, ensign_slice_t value);        /* false: no place's record */
void place_record_free(place_record_t *r);
#endif
