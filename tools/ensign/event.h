/* event.h - events on standard output: as text, as JSON, by a format, or their data alone */
#ifndef ENSIGN_CLI_EVENT_H
#define ENSIGN_CLI_EVENT_H
#include "options.h"

/* What the options --json, --raw, --null, --no-newline, --format, --python and --full say. `many`: the events
 * can be of more than one topic, so text names it. */
void event_print(const options_t *o, const ensign_event_t *e, bool many);

/* Do these options go together? An exit status; what is wrong is said. */
int  event_check(const options_t *o);

/* Parts of an event, for text and for --format. `put` writes what came from a server or a publisher. */
typedef void event_put_t(ensign_slice_t s);
void event_topic(const ensign_event_t *e, event_put_t *put);    /* its id where the name is not known */
void event_id(const ensign_event_t *e);
void event_mimetype(const ensign_event_t *e);                   /* its number where it has no name */
void event_schema(const ensign_event_t *e, event_put_t *put);   /* "Name v1.2.3", or nothing */
void event_metadata(const ensign_event_t *e, const char *between, event_put_t *put);    /* KEY=VALUE each */
#endif
