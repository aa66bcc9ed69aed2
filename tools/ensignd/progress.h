/* progress.h - how far long work is, on one line of standard error that is written again and again
 *
 * Where standard error is no terminal, nothing is said. */
#ifndef ENSIGND_PROGRESS_H
#define ENSIGND_PROGRESS_H
#include "util.h"

typedef struct progress_t { const char *what; bool on, shown; int64_t next; } progress_t;

/* what: "events loaded". quiet: says nothing at all. */
void progress_begin(progress_t *p, const char *what, bool quiet);
void progress_step(progress_t *p, uint64_t done);
void progress_end(progress_t *p);       /* the line goes away */
#endif
