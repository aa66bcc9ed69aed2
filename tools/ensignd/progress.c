/* progress.c - see progress.h */
#include "progress.h"
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define STEP_MS 200

void progress_begin(progress_t *p, const char *what, bool quiet)
{
    p->what = what;
    p->on = !quiet && isatty(STDERR_FILENO) == 1;
    p->shown = false;
    p->next = 0;
}

void progress_step(progress_t *p, uint64_t done)
{
    if (!p->on || now_ms() < p->next) return;
    fprintf(stderr, "\rensignd: %" PRIu64 " %s", done, p->what);
    fflush(stderr);
    p->shown = true;
    p->next = now_ms() + STEP_MS;
}

void progress_end(progress_t *p)
{
    if (p->shown) fputs("\r\033[K", stderr);
    p->shown = false;
}
