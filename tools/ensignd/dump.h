/* dump.h - all that a store keeps, as lines of JSON, and back: how it is carried from one engine to another
 *
 * A dump has a line for each API key that the log keeps, then one for each topic, then one for each event
 * (stored_json.h). The events of a project come in the order of their offsets, one project behind the other.
 * Groups and their places are not in it, for they stand at offsets, and those are others where it is loaded.
 * Nor is what a server makes anew: its signing key and its certificate. A topic that is being destroyed is
 * left out.
 *
 * Both keep to log.h alone, wait for its answers, and take no more memory for more events. */
#ifndef ENSIGND_DUMP_H
#define ENSIGND_DUMP_H
#include "log.h"
#include <stdio.h>

/* wanted: the name or the ULID of one topic, and each project may have one of that name; NULL: all. strict:
   without the times of the commits. */
bool dump_lines(log_t *l, const char *wanted, bool strict, FILE *out, why_t *why);

typedef struct loaded_t { uint64_t events, topics, keys; } loaded_t;

int  load_open(const char *file, why_t *why);   /* "-": standard input; -1: it cannot be read */
/* Reads lines to the end and closes fd. What is there already stays: a key or a topic of the same name is as
   it was, and events go behind those of the topic. False: it has stopped at the first line that is wrong, or
   because the log fails; *out says how much was stored by then, and that stays. */
bool load_lines(log_t *l, int fd, const char *file, loaded_t *out, why_t *why);
#endif
