/* log_nats_none.c - in the place of the engine on NATS where ensignd was built without libnats */
#include "log_engine.h"

void log_nats_set(const char *prefix, int replicas, int64_t window_ms)
{
    (void)prefix;
    (void)replicas;
    (void)window_ms;
}

static void *none_open(log_t *front, const char *where, log_mode_t mode, why_t *why)
{
    (void)front;
    (void)mode;
    fail(why, "--store %s needs libnats, and this ensignd was built without it: install it (Debian: "
              "libnats-dev), then build ensignd again", where);
    return NULL;
}

const log_engine_t log_nats = { .name = "NATS", .open = none_open };
