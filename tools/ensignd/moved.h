/* moved.h - where the events of a dump are now: the offset that each got when it was loaded, by its old id
 *
 * Owns   a temporary file of 18 bytes an event, which has no name and goes with the process, and 72 KiB of
 *        memory, so a dump may have any number of events. The ids of a project rise in a dump. So the file is
 *        a few runs, each in order, and is searched by bisection. A dump in another order has more runs, of
 *        56 bytes of memory each.
 * Moves  only grows. Of two events with the same id the later one counts.
 * Fails  where the file cannot be made, written or read. */
#ifndef ENSIGND_MOVED_H
#define ENSIGND_MOVED_H
#include "ids.h"

typedef struct moved_t moved_t;

moved_t *moved_open(void);
bool     moved_put(moved_t *m, const ulid_t *project, const rlid_t *id, uint64_t offset, why_t *why);
/* *offset is 0 where there is no such event. */
bool     moved_find(const moved_t *m, const ulid_t *project, const rlid_t *id, uint64_t *offset, why_t *why);
void     moved_close(moved_t *m);
#endif
