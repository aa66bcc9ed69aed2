/* store.h - where things are kept: ordered records in a few spaces, behind seven calls that any engine can
 * give
 *
 * A key orders its space byte by byte. An event's key is its topic's ULID and then its RLID, so one topic's
 * events stand together in the order of their commit. Nothing outside an engine's own file knows which
 * engine it is.
 *
 * append  puts a batch where commit will make it last: nothing of it is promised before. A key that exists
 *         is replaced.
 * remove  takes away the first `most` records whose keys begin with `prefix`, with the next commit, as append
 *         puts; says in *removed how many those were. A whole key is the prefix of itself alone.
 * commit  all that was appended and removed since the last one is on the disk, or nothing of it (false).
 * scan    calls `each` in key order for the keys that begin with `prefix` and stand behind `after` (empty:
 *         from the first), until it returns false. The store must not be written to meanwhile.
 * tail    the last key that begins with `prefix`; an empty buffer if there is none.
 *
 * scan and tail see what was appended and removed before the commit, too. A call that fails takes back all
 * that was not committed. */
#ifndef ENSIGND_STORE_H
#define ENSIGND_STORE_H
#include "util.h"

typedef enum { STORE_META = 1, STORE_API_KEY = 2, STORE_TOPIC = 3, STORE_EVENT = 4 } store_space_t;
typedef enum { STORE_READ, STORE_WRITE } store_mode_t; /* one process at a time may have a folder to write */

typedef struct store_record_t { store_space_t space; ensign_slice_t key, value; } store_record_t;
typedef bool store_each_t(void *user, ensign_slice_t key, ensign_slice_t value);

typedef struct store_t store_t;
typedef struct store_engine_t {
    const char *name;
    /* WRITE makes the folder. No folder: in memory, gone with the close. */
    store_t *(*open)(const char *folder, store_mode_t mode, why_t *why);
    bool     (*append)(store_t *s, const store_record_t *batch, size_t n, why_t *why);
    bool (*remove)(store_t *s, store_space_t space, ensign_slice_t prefix, size_t most, size_t *removed,
                   why_t *why);
    bool     (*commit)(store_t *s, why_t *why);
    bool (*scan)(store_t *s, store_space_t space, ensign_slice_t prefix, ensign_slice_t after,
                 store_each_t *each, void *user, why_t *why);
    bool     (*tail)(store_t *s, store_space_t space, ensign_slice_t prefix, buf_t *key, why_t *why);
    void     (*close)(store_t *s);
} store_engine_t;

struct store_t { const store_engine_t *engine; };          /* an engine's own state begins with this */

extern const store_engine_t store_sqlite;

/* The same calls for callers. */
store_t *store_open(const store_engine_t *engine, const char *folder, store_mode_t mode, why_t *why);
bool     store_append(store_t *s, const store_record_t *batch, size_t n, why_t *why);
bool store_remove(store_t *s, store_space_t space, ensign_slice_t prefix, size_t most, size_t *removed,
                  why_t *why);
bool     store_commit(store_t *s, why_t *why);
/* One, committed. */
bool store_put(store_t *s, store_space_t space, ensign_slice_t key, ensign_slice_t value, why_t *why);
/* The value is empty when the key is absent. */
bool store_get(store_t *s, store_space_t space, ensign_slice_t key, buf_t *value, why_t *why);
bool store_scan(store_t *s, store_space_t space, ensign_slice_t prefix, ensign_slice_t after,
                store_each_t *each, void *user, why_t *why);
bool     store_tail(store_t *s, store_space_t space, ensign_slice_t prefix, buf_t *key, why_t *why);
void     store_close(store_t *s);
#endif
