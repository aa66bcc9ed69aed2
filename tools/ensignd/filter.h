/* filter.h - which stored events the query of a subscription takes, by its WHERE
 *
 * Of an event that cannot be read, or costs more than one event may cost a query (field.h), nothing can be
 * said: it is not taken. */
#ifndef ENSIGND_FILTER_H
#define ENSIGND_FILTER_H
#include "log.h"
#include "select.h"

/* So much work (view_t.work), and that of one event more, one subscriber or one group may make at a stretch.
   What is left waits for the next turn of the loop, so that other clients are served between. */
#define FILTER_WORK 4194304u

/* The event is whole: a duplicate has been restored. Adds its work to *work. *refused, a constant text: which
   limit it has passed; it is left alone where there is nothing to say. */
bool filter_takes(const select_t *s, const log_event_t *e, uint64_t epoch, size_t *work,
                  const char **refused);
#endif
