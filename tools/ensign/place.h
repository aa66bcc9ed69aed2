/* place.h - places among the events of a topic: what --from of subscribe and --to of groups reset say */
#ifndef ENSIGN_CLI_PLACE_H
#define ENSIGN_CLI_PLACE_H
#include "session.h"

typedef enum { PLACE_LIVE, PLACE_BEGINNING, PLACE_OFFSET, PLACE_LAST, PLACE_TIME } place_kind_t;

typedef struct place_t {
    place_kind_t  kind;
    uint64_t      number;       /* OFFSET: of the first event; LAST: how many events; 1 or more */
    ensign_time_t time;         /* TIME */
} place_t;

/* "beginning", "live", an offset, -N for the last N events, or a time of RFC 3339. False: none of them. */
bool place_read(const char *text, place_t *out);

/* Must the server be asked for it, topic by topic? */
bool place_is_found(const place_t *p);
/* The offset of the first event there, as the `from` of a subscription has it. The topic is a name or an id,
 * and does not count where it is not asked for. False: said. */
bool place_find(session_t *s, const place_t *p, const char *topic, uint64_t *from);
/* Says that --from needs offsets, and sets the status. */
void place_without_offsets(session_t *s);
#endif
