/* kept.c - see kept.h */
#include "kept.h"
#include <string.h>

bool kept_open(kept_t *k, log_t *log, ensign_slice_t *value)
{
    k->log = log;
    return log_get(log, buf_bytes(&k->key), value, &k->revision);
}

void kept_change(kept_t *k)
{
    k->version++;
}

/* One that failed may have been stored all the same. So it is written again, over whatever there is now. */
static void on_put(log_request_t *base)
{
    kept_t *k = base->user;
    ensign_slice_t value;

    k->putting = false;
    if (base->result == LOG_OK) {
        k->stored = k->put_version;
        k->revision = k->put.revision;
    } else if (!log_get(k->log, buf_bytes(&k->key), &value, &k->revision)) {
        k->revision = 0;
    }
    k->done(k);
}

void kept_run(kept_t *k)
{
    if (k->putting || k->stored == k->version) return;
    k->value.start = k->value.end = 0;
    k->make(k, &k->value);
    memset(&k->put, 0, sizeof k->put);
    k->put.base.done = on_put;
    k->put.base.user = k;
    k->put.key = buf_bytes(&k->key);
    k->put.value = buf_bytes(&k->value);
    k->put.revision = k->revision;
    k->put_version = k->version;
    k->putting = true;
    log_put(k->log, &k->put);
}

bool kept_is_stored(const kept_t *k)
{
    return !k->putting && k->stored == k->version;
}

void kept_close(kept_t *k)
{
    if (k->putting) log_cancel(k->log, &k->put.base);
    buf_free(&k->key);
    buf_free(&k->value);
    memset(k, 0, sizeof *k);
}
