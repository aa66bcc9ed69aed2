/* clock.h - for tests of ensignd's log: util.c, with a clock that only the test moves */
#ifndef CLOCK_H
#define CLOCK_H
#define now_ms system_now_ms
#include "../../tools/ensignd/util.c"
#undef now_ms

static int64_t clock_ms = 1000000;      /* monotonic */
static bool clock_runs;                 /* by itself, where other processes have a part in a test */

int64_t now_ms(void);                   /* in the place of util.c's, for log.c and its engines */
int64_t now_ms(void)
{
    return clock_runs ? system_now_ms() : clock_ms;
}
#endif
