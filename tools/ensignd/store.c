/* store.c - the calls of store.h, over whatever engine was opened */
#include "store.h"

store_t *store_open(const store_engine_t *engine, const char *folder, store_mode_t mode, why_t *why)
{
    return engine->open(folder, mode, why);
}

bool store_append(store_t *s, const store_record_t *batch, size_t n, why_t *why)
{
    return s->engine->append(s, batch, n, why);
}

bool store_remove(store_t *s, store_space_t space, ensign_slice_t prefix, size_t most, size_t *removed,
                  why_t *why)
{
    return s->engine->remove(s, space, prefix, most, removed, why);
}

bool store_commit(store_t *s, why_t *why)
{
    return s->engine->commit(s, why);
}

bool store_put(store_t *s, store_space_t space, ensign_slice_t key, ensign_slice_t value, why_t *why)
{
    store_record_t r = { space, key, value };
    return store_append(s, &r, 1, why) && store_commit(s, why);
}

typedef struct get_t { ensign_slice_t key; buf_t *value; } get_t;

static bool get_exact(void *user, ensign_slice_t key, ensign_slice_t value)
{
    get_t *g = user;
    if (slice_eq(key, g->key)) buf_put(g->value, value.ptr, value.len);
    return false;       /* the key itself sorts before all that it is a prefix of */
}

bool store_get(store_t *s, store_space_t space, ensign_slice_t key, buf_t *value, why_t *why)
{
    get_t g = { key, value };
    value->start = value->end = 0;
    return store_scan(s, space, key, slice_of(NULL, 0), get_exact, &g, why);
}

bool store_scan(store_t *s, store_space_t space, ensign_slice_t prefix, ensign_slice_t after,
                store_each_t *each, void *user, why_t *why)
{
    return s->engine->scan(s, space, prefix, after, each, user, why);
}

bool store_tail(store_t *s, store_space_t space, ensign_slice_t prefix, buf_t *key, why_t *why)
{
    key->start = key->end = 0;
    return s->engine->tail(s, space, prefix, key, why);
}

void store_close(store_t *s)
{
    if (s) s->engine->close(s);
}
