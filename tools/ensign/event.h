/* event.h - events on standard output: as text, as JSON, or their data alone */
#ifndef ENSIGN_CLI_EVENT_H
#define ENSIGN_CLI_EVENT_H
#include "options.h"

/* What the options --json, --raw, --null and --no-newline say. */
void event_print(const options_t *o, const ensign_event_t *e);

/* Do these options go together? An exit status; what is wrong is said. */
int  event_check(const options_t *o);
#endif
