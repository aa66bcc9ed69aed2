/* detach.h - the server in the background: the caller's process ends when the server's is ready */
#ifndef ENSIGND_DETACH_H
#define ENSIGND_DETACH_H
#include "util.h"

typedef struct detach_t {
    int ready;                          /* the pipe on which the caller waits; -1: nobody does */
} detach_t;

/* Forks, and returns in the server's process alone, which has left the terminal. The caller's process waits
   for detach_ready, then prints the server's pid on standard output and exits with 0; if the server ends
   before that, the caller exits with the server's status. */
bool detach_start(detach_t *d, why_t *why);
/* Tells the caller that the server is ready. False: the caller is gone. */
bool detach_ready(detach_t *d, why_t *why);

/* What standard output and standard error become once it is ready: the end of `log_file`, or without one
   nothing if `detached`. *fd is -1 where they stay as they are. */
bool output_open(const char *log_file, bool detached, int *fd, why_t *why);
void output_take(int fd);               /* closes it: the two have it now */
#endif
