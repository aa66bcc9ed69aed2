/* log_now.h - questions to the log that wait for their answer: for the start, --dump and --load, where no
 * loop runs
 *
 * And the settings: texts of the server's own by name, each a record of metadata. */
#ifndef ENSIGND_LOG_NOW_H
#define ENSIGND_LOG_NOW_H
#include "log.h"

/* False: the event is the last one that is wanted. */
typedef bool log_event_fn_t(void *user, const log_event_t *e);

/* Sets the record whatever is there. */
bool log_put_now(log_t *l, ensign_slice_t key, ensign_slice_t value, why_t *why);
/* Makes the record if there is none. Where others use the log too, several may do so at once: the first one's
   value stays, and log_get has it behind this for all of them. */
bool log_make_now(log_t *l, ensign_slice_t key, ensign_slice_t value, why_t *why);
/* The caller fills in all but the base. False: an event without an offset may be missing. */
bool log_append_now(log_t *l, log_append_t *r, why_t *why);
bool log_amend_now(log_t *l, log_amend_t *r, size_t count, why_t *why);        /* all of them together */
/* All events of a topic, or of all topics (NULL), in order. */
bool log_read_now(log_t *l, const ulid_t *project, const ulid_t *topic, log_event_fn_t *each, void *user,
                  why_t *why);
/* The event of a topic at this offset; `each` is not called where there is none. */
bool log_read_one_now(log_t *l, const ulid_t *project, const ulid_t *topic, uint64_t offset,
                      log_event_fn_t *each, void *user, why_t *why);

bool setting_get(const log_t *l, const char *name, ensign_slice_t *value);      /* false: there is none */
bool setting_put_now(log_t *l, const char *name, ensign_slice_t value, why_t *why);
/* The setting as it is, or as log_make_now has made it of `value`. */
bool setting_make_now(log_t *l, const char *name, ensign_slice_t value, ensign_slice_t *out, why_t *why);
#endif
