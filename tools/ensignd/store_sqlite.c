/* store_sqlite.c - the first engine of store.h; the only file that knows SQLite
 *
 * One table, and an index of its keys. Not clustered by key: SQLite would read a whole record, of megabytes
 * at times, to compare its key. WAL, and a sync at each commit: what was acked outlives the process and the
 * machine. Without a folder the same table lies in memory. */
#include "store.h"
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct sqlite_store_t {
    store_t base;
    sqlite3 *db;
    sqlite3_stmt *put, *cut, *scan, *tail;
    int lock_fd;
    bool in_transaction;
} sqlite_store_t;

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS record(space INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,"
    " UNIQUE(space, key));";
static const char sql_put[] = "INSERT OR REPLACE INTO record(space, key, value) VALUES(?1, ?2, ?3)";
static const char sql_cut[] =
    "DELETE FROM record WHERE space = ?1 AND key IN"
    " (SELECT key FROM record WHERE space = ?1 AND key >= ?2 AND key < ?3 ORDER BY key LIMIT ?4)";
static const char sql_scan[] =
    "SELECT key, value FROM record WHERE space = ?1 AND key >= ?2 AND key < ?3 AND key > ?4 ORDER BY key";
static const char sql_tail[] =
    "SELECT key FROM record WHERE space = ?1 AND key >= ?2 AND key < ?3 ORDER BY key DESC LIMIT 1";

static bool db_fail(sqlite_store_t *s, const char *doing, why_t *why)
{
    return fail(why, "store: %s: %s; see that the disk has room and the folder may be written", doing,
                s->db ? sqlite3_errmsg(s->db) : "out of memory");
}

static void sqlite_close_store(store_t *base)
{
    sqlite_store_t *s = (sqlite_store_t *)base;
    sqlite3_finalize(s->put);
    sqlite3_finalize(s->cut);
    sqlite3_finalize(s->scan);
    sqlite3_finalize(s->tail);
    sqlite3_close(s->db);
    if (s->lock_fd >= 0) close(s->lock_fd);
    free(s);
}

/* A second writer would give out the same ids; the lock dies with the process, however that dies. */
static bool lock_folder(sqlite_store_t *s, const char *folder, why_t *why)
{
    char path[1024];
    struct flock lock;

    snprintf(path, sizeof path, "%s/lock", folder);
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return fail(why, "--data %s: %s; name a folder that may be written", folder, strerror(errno));
    memset(&lock, 0, sizeof lock);
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (fcntl(s->lock_fd, F_SETLK, &lock) != 0)
        return fail(why, "--data %s is in use by another ensignd; stop that one or name another folder",
                    folder);
    return true;
}

static bool prepare_folder(sqlite_store_t *s, const char *folder, store_mode_t mode, why_t *why)
{
    struct stat st;

    if (mode == STORE_WRITE && mkdir(folder, 0700) != 0 && errno != EEXIST)
        return fail(why, "--data %s cannot be made: %s; name a folder inside one that may be written", folder,
                    strerror(errno));
    if (stat(folder, &st) != 0)
        return fail(why, "--data %s: %s; name the folder of an ensignd", folder, strerror(errno));
    if (!S_ISDIR(st.st_mode)) return fail(why, "--data %s is no folder; name a folder", folder);
    return mode == STORE_READ || lock_folder(s, folder, why);
}

static bool run(sqlite_store_t *s, const char *sql, why_t *why)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK || db_fail(s, "open", why);
}

static bool open_file(sqlite_store_t *s, const char *folder, store_mode_t mode, why_t *why)
{
    char path[1024];
    int flags = SQLITE_OPEN_READWRITE | (mode == STORE_WRITE ? SQLITE_OPEN_CREATE : 0);

    snprintf(path, sizeof path, "%s/ensignd.db", folder);
    if (sqlite3_open_v2(path, &s->db, flags, NULL) != SQLITE_OK)
        return mode == STORE_WRITE ? db_fail(s, path, why)
                                   : fail(why, "--data %s holds no ensignd.db that can be opened; name the "
                                               "folder of an ensignd", folder);
    sqlite3_busy_timeout(s->db, 5000);
    return run(s, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;", why);
}

static bool open_memory(sqlite_store_t *s, why_t *why)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    return sqlite3_open_v2(":memory:", &s->db, flags, NULL) == SQLITE_OK || db_fail(s, "open", why);
}

static bool prepare(sqlite_store_t *s, const char *sql, sqlite3_stmt **out, why_t *why)
{
    return sqlite3_prepare_v2(s->db, sql, -1, out, NULL) == SQLITE_OK || db_fail(s, "prepare", why);
}

static bool open_db(sqlite_store_t *s, const char *folder, store_mode_t mode, why_t *why)
{
    mode_t old = umask(077);    /* keys and secrets are in it */
    bool ok = (folder ? open_file(s, folder, mode, why) : open_memory(s, why)) && run(s, schema, why);

    umask(old);
    return ok && prepare(s, sql_put, &s->put, why) && prepare(s, sql_cut, &s->cut, why) &&
           prepare(s, sql_scan, &s->scan, why) && prepare(s, sql_tail, &s->tail, why);
}

static store_t *sqlite_open_store(const char *folder, store_mode_t mode, why_t *why)
{
    sqlite_store_t *s = x_alloc(sizeof *s);

    s->base.engine = &store_sqlite;
    s->lock_fd = -1;
    if ((!folder || prepare_folder(s, folder, mode, why)) && open_db(s, folder, mode, why)) return &s->base;
    sqlite_close_store(&s->base);
    return NULL;
}

static void bind_bytes(sqlite3_stmt *st, int at, ensign_slice_t b)
{
    sqlite3_bind_blob64(st, at, b.len ? (const void *)b.ptr : "", b.len, SQLITE_STATIC);
}

static void roll_back(sqlite_store_t *s)
{
    if (s->in_transaction) sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    s->in_transaction = false;
}

static bool begin(sqlite_store_t *s, why_t *why)
{
    if (!s->in_transaction && sqlite3_exec(s->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return db_fail(s, "begin", why);
    s->in_transaction = true;
    return true;
}

static bool sqlite_append(store_t *base, const store_record_t *batch, size_t n, why_t *why)
{
    sqlite_store_t *s = (sqlite_store_t *)base;

    if (!begin(s, why)) return false;
    for (size_t i = 0; i < n; i++) {
        sqlite3_bind_int(s->put, 1, (int)batch[i].space);
        bind_bytes(s->put, 2, batch[i].key);
        bind_bytes(s->put, 3, batch[i].value);
        if (sqlite3_step(s->put) != SQLITE_DONE) {
            db_fail(s, "append", why);
            sqlite3_reset(s->put);
            roll_back(s);
            return false;
        }
        sqlite3_reset(s->put);
    }
    return true;
}

static bool sqlite_commit(store_t *base, why_t *why)
{
    sqlite_store_t *s = (sqlite_store_t *)base;

    if (!s->in_transaction) return true;
    if (sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK) {
        db_fail(s, "commit", why);
        roll_back(s);
        return false;
    }
    s->in_transaction = false;
    return true;
}

/* The first key behind all that begin with the prefix. A prefix of 0xff alone (or none) has none such: then
   a key longer than any of ours stands for it. */
static ensign_slice_t prefix_end(ensign_slice_t prefix, uint8_t out[64])
{
    size_t n = prefix.len < 63 ? prefix.len : 63;
    if (n) memcpy(out, prefix.ptr, n);
    while (n && out[n - 1] == 0xff) n--;
    if (n == 0) {
        memset(out, 0xff, 64);
        return slice_of(out, 64);
    }
    out[n - 1]++;
    return slice_of(out, n);
}

static bool sqlite_remove(store_t *base, store_space_t space, ensign_slice_t prefix, size_t most,
                          size_t *removed, why_t *why)
{
    sqlite_store_t *s = (sqlite_store_t *)base;
    uint8_t end[64];
    bool ok;

    if (!begin(s, why)) return false;
    sqlite3_bind_int(s->cut, 1, (int)space);
    bind_bytes(s->cut, 2, prefix);
    bind_bytes(s->cut, 3, prefix_end(prefix, end));
    sqlite3_bind_int64(s->cut, 4, most > INT32_MAX ? INT32_MAX : (int64_t)most);
    ok = sqlite3_step(s->cut) == SQLITE_DONE;
    *removed = ok ? (size_t)sqlite3_changes(s->db) : 0;
    if (!ok) db_fail(s, "remove", why);
    sqlite3_reset(s->cut);
    if (!ok) roll_back(s);
    return ok;
}

static bool sqlite_scan(store_t *base, store_space_t space, ensign_slice_t prefix, ensign_slice_t after,
                        store_each_t *each, void *user, why_t *why)
{
    sqlite_store_t *s = (sqlite_store_t *)base;
    uint8_t end[64];
    int rc;

    sqlite3_bind_int(s->scan, 1, (int)space);
    bind_bytes(s->scan, 2, after.len ? after : prefix);    /* what comes after begins with the prefix too */
    bind_bytes(s->scan, 3, prefix_end(prefix, end));
    bind_bytes(s->scan, 4, after);
    while ((rc = sqlite3_step(s->scan)) == SQLITE_ROW) {
        ensign_slice_t key = slice_of(sqlite3_column_blob(s->scan, 0),
                                      (size_t)sqlite3_column_bytes(s->scan, 0));
        ensign_slice_t value = slice_of(sqlite3_column_blob(s->scan, 1),
                                        (size_t)sqlite3_column_bytes(s->scan, 1));
        if (!each(user, key, value)) break;
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) db_fail(s, "scan", why);
    sqlite3_reset(s->scan);
    return rc == SQLITE_ROW || rc == SQLITE_DONE;
}

static bool sqlite_tail(store_t *base, store_space_t space, ensign_slice_t prefix, buf_t *key, why_t *why)
{
    sqlite_store_t *s = (sqlite_store_t *)base;
    uint8_t end[64];
    int rc;

    sqlite3_bind_int(s->tail, 1, (int)space);
    bind_bytes(s->tail, 2, prefix);
    bind_bytes(s->tail, 3, prefix_end(prefix, end));
    rc = sqlite3_step(s->tail);
    if (rc == SQLITE_ROW)
        buf_put(key, sqlite3_column_blob(s->tail, 0), (size_t)sqlite3_column_bytes(s->tail, 0));
    else if (rc != SQLITE_DONE) db_fail(s, "tail", why);
    sqlite3_reset(s->tail);
    return rc == SQLITE_ROW || rc == SQLITE_DONE;
}

const store_engine_t store_sqlite = {
    "SQLite", sqlite_open_store, sqlite_append, sqlite_remove, sqlite_commit, sqlite_scan, sqlite_tail,
    sqlite_close_store
};
