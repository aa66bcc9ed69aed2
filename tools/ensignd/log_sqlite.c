/* log_sqlite.c - the engine of log.h on SQLite; it and log_carry.c alone know that
 *
 * An event's key is its project's number and its offset, in one integer: so an append goes to the end of its
 * project, and a read of all topics walks along. A read of one topic goes along an index. A topic's ULID is
 * kept as two integers, which SQLite compares faster than bytes; the index has the lower one, which tells
 * nearly all of them apart.
 *
 * All that was asked for by a turn of the loop is one transaction, in `run`, with a sync (WAL): what was
 * answered outlives the process and the machine. When it fails, all of it fails, and nothing has changed.
 * Reads come behind it, a bounded amount of them in one run.
 *
 * Offsets do not skip here, but where a topic was destroyed. A project's last offset is kept for that: the
 * offsets of what was destroyed are not given again. */
#include "log_engine.h"
#include "log_carry.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERSION 2                       /* of the tables; 0: none, or those of log_carry.c */
#define READ_EXAMINED 1024u             /* records that one read looks at */
#define READ_BYTES 1048576u             /* of values, and one event more */
#define RUN_READS 64u                   /* what all reads of one run do together, and one read more */
#define RUN_EXAMINED 4096u
#define RUN_BYTES 4194304u
#define DESTROY_RECORDS 1024            /* in one run */
#define AGAIN_MS 100

typedef struct project_t {
    ulid_t   id;
    int64_t  number;
    uint64_t epoch, last, next;         /* last: committed; next: that of the transaction */
    int64_t  ms;                        /* no RLID is below the one before, even if the clock goes back */
    bool     stored, followed;
} project_t;

typedef enum { WRITE_APPEND, WRITE_AMEND, WRITE_DESTROY, WRITE_PUT } write_kind_t;
typedef struct write_t {
    write_kind_t   kind;
    log_request_t *r;                   /* NULL: cancelled */
    bool           more, refused;       /* of a destruction: not all yet; of a put: changed by others */
    uint64_t       number;              /* the ms of an append's ids; the revision of a put */
} write_t;
typedef struct writes_t { write_t *at; size_t count, cap; } writes_t;

/* What a read answers, until the next run. */
typedef struct page_t { buf_t bytes; log_event_t *events; size_t count, cap; } page_t;

#define ROW "(?, ?, ?, ?, ?, ?)"
#define ROW_COLUMNS 6
#define ROWS 8                          /* that one statement stores, where there are so many */
enum { BEGIN, COMMIT, ROLLBACK, PROJECT, LAST, APPEND, APPEND_ROWS, AMEND, DESTROY, REVISION, PUT, REMOVE,
       READ_ALL, READ_TOPIC, FIND, STATEMENTS };
static const char *const statements[STATEMENTS] = {
    "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK",
    "INSERT INTO project(number, id, epoch, last) VALUES(?1, ?2, ?3, 0)",
    "UPDATE project SET last = ?2 WHERE number = ?1",
    "INSERT INTO event(place, high, low, id, at, value) VALUES" ROW,
    ("INSERT INTO event(place, high, low, id, at, value) VALUES"
     ROW ", " ROW ", " ROW ", " ROW ", " ROW ", " ROW ", " ROW ", " ROW),
    "UPDATE event SET value = ?4 WHERE place = ?1 AND high = ?2 AND low = ?3",
    ("DELETE FROM event WHERE place IN (SELECT place FROM event INDEXED BY event_topic"
     " WHERE place > ?1 AND place <= ?2 AND high = ?3 AND low = ?4 LIMIT ?5)"),
    "SELECT revision FROM metadata WHERE key = ?1",
    "INSERT OR REPLACE INTO metadata(key, value, revision) VALUES(?1, ?2, ?3)",
    "DELETE FROM metadata WHERE key = ?1",
    "SELECT place, high, low, id, at, value FROM event WHERE place > ?1 AND place <= ?2 ORDER BY place",
    ("SELECT place, high, low, id, at, value FROM event INDEXED BY event_topic"
     " WHERE place > ?1 AND place <= ?2 AND high = ?3 AND low = ?4 ORDER BY place"),
    "SELECT place, id, at FROM event WHERE place > ?1 AND place <= ?2 ORDER BY place LIMIT 1",
};

typedef struct engine_t {
    log_t        *front;
    sqlite3      *db;
    sqlite3_stmt *st[STATEMENTS];
    log_mode_t    mode;
    int           lock_fd;
    project_t    *projects;             /* by number, from 1 */
    size_t        project_count;
    uint64_t      revision;
    writes_t      writes, batch;        /* asked for; those of the transaction */
    log_read_t  **reads;
    size_t        read_count, read_cap;
    page_t        pages[RUN_READS];
    size_t        page_count;
    log_event_t  *told;                 /* scratch */
    size_t        told_cap;
    int64_t       again;                /* monotonic ms: new projects are not written before */
} engine_t;

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS project(number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE,"
    " epoch INTEGER NOT NULL, last INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS event(place INTEGER PRIMARY KEY, high INTEGER NOT NULL, low INTEGER NOT NULL,"
    " id BLOB, at INTEGER NOT NULL, value BLOB NOT NULL);"
    "CREATE INDEX IF NOT EXISTS event_topic ON event(low);"
    "CREATE TABLE IF NOT EXISTS metadata(key BLOB PRIMARY KEY, value BLOB NOT NULL,"
    " revision INTEGER NOT NULL) WITHOUT ROWID;";

/* ---- statements */

static void bind(engine_t *e, int st, int at, ensign_slice_t b)
{
    sqlite3_bind_blob64(e->st[st], at, b.len ? (const void *)b.ptr : "", b.len, SQLITE_STATIC);
}

static void bind_number(engine_t *e, int st, int at, uint64_t v)
{
    sqlite3_bind_int64(e->st[st], at, (int64_t)v);
}

/* Of one that gives no rows. */
static bool step(engine_t *e, int st)
{
    bool ok = sqlite3_step(e->st[st]) == SQLITE_DONE;
    sqlite3_reset(e->st[st]);
    return ok;
}

static ensign_slice_t column(sqlite3_stmt *st, int at)
{
    const void *p = sqlite3_column_blob(st, at);
    return slice_of(p, (size_t)sqlite3_column_bytes(st, at));
}

static uint64_t place_of(const project_t *p, uint64_t offset)
{
    return (uint64_t)p->number << OFFSET_BITS | offset;
}

static uint64_t be64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) v = v << 8 | p[i];
    return v;
}

/* A topic is bound as two parameters, `at` and the next. */
static void bind_topic(engine_t *e, int st, int at, const ulid_t *topic)
{
    bind_number(e, st, at, be64(topic->b));
    bind_number(e, st, at + 1, be64(topic->b + 8));
}

static ulid_t column_topic(sqlite3_stmt *st, int at)
{
    uint64_t parts[2];
    ulid_t topic;

    parts[0] = (uint64_t)sqlite3_column_int64(st, at);
    parts[1] = (uint64_t)sqlite3_column_int64(st, at + 1);
    for (size_t i = 0; i < 16; i++) topic.b[i] = (uint8_t)(parts[i / 8] >> (56 - 8 * (i % 8)) & 0xff);
    return topic;
}

/* An id is kept where it is not that of the time and the offset: in a carried folder, and while the clock is
   behind. */
static rlid_t column_id(sqlite3_stmt *st, int at, uint64_t offset, int64_t when)
{
    ensign_slice_t bytes = column(st, at);
    rlid_t id = rlid_make(when / 1000000, (uint32_t)offset);

    if (bytes.len == sizeof id.b) memcpy(id.b, bytes.ptr, sizeof id.b);
    return id;
}

static int64_t rlid_ms(const rlid_t *id)
{
    int64_t ms = 0;
    for (size_t i = 0; i < 6; i++) ms = ms << 8 | id->b[i];
    return ms;
}

/* ---- projects */

static project_t *add_project(engine_t *e, const ulid_t *id, int64_t number, uint64_t epoch)
{
    project_t *p;

    e->projects = x_realloc(e->projects, (e->project_count + 1) * sizeof *e->projects);
    p = &e->projects[e->project_count++];
    memset(p, 0, sizeof *p);
    p->id = *id;
    p->number = number;
    p->epoch = epoch;
    return p;
}

/* One that is not known yet is made, and stored with the next transaction. The pointer stands until then. */
static project_t *project_of(engine_t *e, const ulid_t *id)
{
    int64_t number = 1;

    for (size_t i = 0; i < e->project_count; i++) {
        if (ulid_eq(&e->projects[i].id, id)) return &e->projects[i];
        if (e->projects[i].number >= number) number = e->projects[i].number + 1;
    }
    return add_project(e, id, number, epoch_new());
}

static bool has_new_project(const engine_t *e)
{
    size_t i = e->project_count;        /* the new ones are the last ones */
    return i && !e->projects[i - 1].stored;
}

static bool store_projects(engine_t *e)
{
    for (size_t i = e->project_count; i && !e->projects[i - 1].stored; i--) {
        const project_t *p = &e->projects[i - 1];
        bind_number(e, PROJECT, 1, (uint64_t)p->number);
        bind(e, PROJECT, 2, slice_of(p->id.b, sizeof p->id.b));
        bind_number(e, PROJECT, 3, p->epoch);
        if (!step(e, PROJECT)) return false;
    }
    return true;
}

/* The last event that there is may be behind the offset that was kept, or before it. */
static bool read_last(engine_t *e, project_t *p)
{
    sqlite3_stmt *st = NULL;
    char sql[160];
    bool ok;

    snprintf(sql, sizeof sql, "SELECT place, id, at FROM event WHERE place >= %lld AND place < %lld"
             " ORDER BY place DESC LIMIT 1", (long long)place_of(p, 0), (long long)place_of(p, OFFSET_MOST));
    ok = sqlite3_prepare_v2(e->db, sql, -1, &st, NULL) == SQLITE_OK;
    if (ok && sqlite3_step(st) == SQLITE_ROW) {
        uint64_t last = (uint64_t)sqlite3_column_int64(st, 0) & OFFSET_MOST;
        rlid_t id = column_id(st, 1, last, sqlite3_column_int64(st, 2));
        if (last > p->last) p->last = last;
        /* Events of old folders have other numbers in their ids: the same ms could give a lower one. */
        p->ms = rlid_ms(&id) + 1;
    }
    sqlite3_finalize(st);
    return ok;
}

static bool load_projects(engine_t *e)
{
    sqlite3_stmt *st = NULL;
    bool ok = sqlite3_prepare_v2(e->db, "SELECT id, number, epoch, last FROM project ORDER BY number", -1,
                                 &st, NULL) == SQLITE_OK;

    while (ok && sqlite3_step(st) == SQLITE_ROW) {
        project_t *p;
        ulid_t id;
        if (!ulid_from(column(st, 0), &id)) continue;
        p = add_project(e, &id, sqlite3_column_int64(st, 1), (uint64_t)sqlite3_column_int64(st, 2));
        p->last = (uint64_t)sqlite3_column_int64(st, 3);
        p->stored = true;
        ok = read_last(e, p);
    }
    sqlite3_finalize(st);
    return ok;
}

static bool load_metadata(engine_t *e)
{
    sqlite3_stmt *st = NULL;
    bool ok = sqlite3_prepare_v2(e->db, "SELECT key, value, revision FROM metadata ORDER BY key", -1, &st,
                                 NULL) == SQLITE_OK;

    while (ok && sqlite3_step(st) == SQLITE_ROW) {
        uint64_t revision = (uint64_t)sqlite3_column_int64(st, 2);
        if (revision > e->revision) e->revision = revision;
        log_known(e->front, column(st, 0), column(st, 1), revision);
    }
    sqlite3_finalize(st);
    return ok;
}

/* ---- the folder */

/* A second writer would give out the same offsets; the lock dies with the process, however that dies. */
static bool lock_folder(engine_t *e, const char *folder, why_t *why)
{
    char path[1024];
    struct flock lock;

    snprintf(path, sizeof path, "%s/lock", folder);
    e->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (e->lock_fd < 0)
        return fail(why, "--data %s: %s; name a folder that may be written", folder, strerror(errno));
    memset(&lock, 0, sizeof lock);
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (fcntl(e->lock_fd, F_SETLK, &lock) != 0)
        return fail(why, "--data %s is in use by another ensignd; stop that one or name another folder",
                    folder);
    return true;
}

static bool prepare_folder(engine_t *e, const char *folder, why_t *why)
{
    struct stat st;

    if (e->mode == LOG_WRITE && mkdir(folder, 0700) != 0 && errno != EEXIST)
        return fail(why, "--data %s cannot be made: %s; name a folder inside one that may be written", folder,
                    strerror(errno));
    if (stat(folder, &st) != 0)
        return fail(why, "--data %s: %s; name the folder of an ensignd", folder, strerror(errno));
    if (!S_ISDIR(st.st_mode)) return fail(why, "--data %s is no folder; name a folder", folder);
    return e->mode == LOG_READ || lock_folder(e, folder, why);
}

static bool db_fail(engine_t *e, const char *folder, why_t *why)
{
    return fail(why, "--data %s: %s; see that the disk has room and the folder may be written",
                folder ? folder : "(in memory)", e->db ? sqlite3_errmsg(e->db) : "out of memory");
}

static bool run_sql(engine_t *e, const char *sql)
{
    return sqlite3_exec(e->db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

static int read_version(engine_t *e)
{
    sqlite3_stmt *st = NULL;
    int version = -1;

    if (sqlite3_prepare_v2(e->db, "PRAGMA user_version", -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW)
        version = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    return version;
}

static bool carry(engine_t *e, const char *folder, why_t *why)
{
    if (e->lock_fd < 0 && !lock_folder(e, folder, why)) return false;
    log_line("--data %s: its events are carried over from an older version", folder);
    if (run_sql(e, "BEGIN IMMEDIATE") && run_sql(e, schema) && carry_over(e->db) &&
        run_sql(e, "PRAGMA user_version = 2; COMMIT"))
        return true;
    db_fail(e, folder, why);
    run_sql(e, "ROLLBACK");
    return false;
}

static bool make_tables(engine_t *e, const char *folder, why_t *why)
{
    int version = read_version(e);

    if (version > VERSION)
        return fail(why, "--data %s was written by a newer ensignd; run that one, or name another folder",
                    folder);
    if (version == 0 && carry_needed(e->db)) return carry(e, folder, why);
    return version == VERSION || (run_sql(e, schema) && run_sql(e, "PRAGMA user_version = 2")) ||
           db_fail(e, folder, why);
}

static bool open_db(engine_t *e, const char *folder, why_t *why)
{
    int flags = SQLITE_OPEN_READWRITE | (e->mode == LOG_WRITE || !folder ? SQLITE_OPEN_CREATE : 0);
    char path[1024];

    snprintf(path, sizeof path, "%s/ensignd.db", folder ? folder : "");
    if (sqlite3_open_v2(folder ? path : ":memory:", &e->db, flags, NULL) != SQLITE_OK)
        return e->mode == LOG_WRITE ? db_fail(e, folder, why)
                                    : fail(why, "--data %s holds no ensignd.db that can be opened; name the "
                                                "folder of an ensignd", folder);
    sqlite3_busy_timeout(e->db, 5000);
    if (!run_sql(e, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")) return db_fail(e, folder, why);
    if (!make_tables(e, folder, why)) return false;
    for (int i = 0; i < STATEMENTS; i++)
        if (sqlite3_prepare_v2(e->db, statements[i], -1, &e->st[i], NULL) != SQLITE_OK)
            return db_fail(e, folder, why);
    if (!load_projects(e) || !load_metadata(e)) return db_fail(e, folder, why);
    sqlite3_busy_timeout(e->db, 0);     /* from now on the front asks again, and the loop goes on */
    return true;
}

static void sqlite_close(void *engine)
{
    engine_t *e = engine;

    for (int i = 0; i < STATEMENTS; i++) sqlite3_finalize(e->st[i]);
    sqlite3_close(e->db);
    if (e->lock_fd >= 0) close(e->lock_fd);
    for (size_t i = 0; i < RUN_READS; i++) {
        buf_free(&e->pages[i].bytes);
        free(e->pages[i].events);
    }
    free(e->projects);
    free(e->writes.at);
    free(e->batch.at);
    free(e->reads);
    free(e->told);
    free(e);
}

/* The process has one thread, so SQLite needs no locks, and nobody asks how much memory it has. It refuses
   where it is in use already, which does no harm. */
static void configure(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static void *sqlite_open(log_t *front, const char *where, log_mode_t mode, why_t *why)
{
    engine_t *e = x_alloc(sizeof *e);
    mode_t old = umask(077);            /* keys and secrets are in it */
    bool ok;

    configure();
    e->front = front;
    e->mode = mode;
    e->lock_fd = -1;
    ok = (!where || prepare_folder(e, where, why)) && open_db(e, where, why);
    umask(old);
    if (ok) return e;
    sqlite_close(e);
    return NULL;
}

/* ---- asked for */

static void put_write(writes_t *w, const write_t *x)
{
    if (w->count == w->cap) {
        w->cap = w->cap ? 2 * w->cap : 64;
        w->at = x_realloc(w->at, w->cap * sizeof *w->at);
    }
    w->at[w->count++] = *x;
}

static void ask(engine_t *e, write_kind_t kind, log_request_t *r)
{
    write_t w = { kind, r, false, false, 0 };
    put_write(&e->writes, &w);
}

static void sqlite_append(void *engine, log_append_t *r) { ask(engine, WRITE_APPEND, &r->base); }
static void sqlite_amend(void *engine, log_amend_t *r) { ask(engine, WRITE_AMEND, &r->base); }
static void sqlite_destroy(void *engine, log_destroy_t *r) { ask(engine, WRITE_DESTROY, &r->base); }
static void sqlite_put(void *engine, log_put_t *r) { ask(engine, WRITE_PUT, &r->base); }

static void sqlite_read(void *engine, log_read_t *r)
{
    engine_t *e = engine;

    if (e->read_count == e->read_cap) {
        e->read_cap = e->read_cap ? 2 * e->read_cap : 64;
        e->reads = x_realloc(e->reads, e->read_cap * sizeof *e->reads);
    }
    e->reads[e->read_count++] = r;
}

static void cancel_write(writes_t *w, const log_request_t *r)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->at[i].r == r) w->at[i].r = NULL;
}

static void sqlite_cancel(void *engine, log_request_t *r)
{
    engine_t *e = engine;

    cancel_write(&e->writes, r);
    cancel_write(&e->batch, r);
    for (size_t i = 0; i < e->read_count; i++)
        if (&e->reads[i]->base == r) {
            memmove(&e->reads[i], &e->reads[i + 1], (--e->read_count - i) * sizeof *e->reads);
            return;
        }
}

static void sqlite_follow(void *engine, const ulid_t *project)
{
    project_of(engine, project)->followed = true;
}

/* ---- the transaction */

static void bind_event(engine_t *e, int st, int row, project_t *p, log_new_t *n, stamp_t when)
{
    int at = row * ROW_COLUMNS;
    rlid_t id;

    n->offset = ++p->next;
    bind_number(e, st, at + 1, place_of(p, p->next));
    bind_topic(e, st, at + 2, &n->topic);
    if (p->ms == when.seconds * 1000 + when.nanos / 1000000) {
        sqlite3_bind_null(e->st[st], at + 4);
    } else {
        id = rlid_make(p->ms, (uint32_t)p->next);
        sqlite3_bind_blob(e->st[st], at + 4, id.b, sizeof id.b, SQLITE_TRANSIENT);
    }
    bind_number(e, st, at + 5, (uint64_t)(when.seconds * 1000000000 + when.nanos));
    bind(e, st, at + 6, n->value);
}

static bool store_events(engine_t *e, project_t *p, log_append_t *r, stamp_t when)
{
    for (size_t i = 0; i < r->count;) {
        bool many = r->count - i >= ROWS;
        int st = many ? APPEND_ROWS : APPEND, rows = many ? ROWS : 1;
        for (int row = 0; row < rows; row++) bind_event(e, st, row, p, &r->events[i++], when);
        if (!step(e, st)) return false;
    }
    return true;
}

/* All ids of one append have the same time. Where their lower parts would begin anew in the middle of it, it
   begins there. */
static bool append(engine_t *e, log_append_t *r, stamp_t when, uint64_t *ms)
{
    project_t *p = project_of(e, &r->project);
    int64_t now = when.seconds * 1000 + when.nanos / 1000000;

    if (now > p->ms) p->ms = now;
    if ((p->next + 1) >> 32 != (p->next + r->count) >> 32) p->next |= UINT32_MAX;
    if (((p->next + 1) & UINT32_MAX) == 0) p->ms++;
    *ms = (uint64_t)p->ms;
    r->committed = when;
    return store_events(e, p, r, when);
}

static bool amend(engine_t *e, log_amend_t *r)
{
    bind_number(e, AMEND, 1, place_of(project_of(e, &r->project), r->offset));
    bind_topic(e, AMEND, 2, &r->topic);
    bind(e, AMEND, 4, r->value);
    if (!step(e, AMEND)) return false;
    r->found = sqlite3_changes(e->db) > 0;
    return true;
}

static bool destroy(engine_t *e, log_destroy_t *r, bool *more)
{
    const project_t *p = project_of(e, &r->project);

    bind_number(e, DESTROY, 1, place_of(p, 0));
    bind_number(e, DESTROY, 2, place_of(p, OFFSET_MOST));
    bind_topic(e, DESTROY, 3, &r->topic);
    bind_number(e, DESTROY, 5, DESTROY_RECORDS);
    if (!step(e, DESTROY)) return false;
    *more = sqlite3_changes(e->db) >= DESTROY_RECORDS;
    bind_number(e, LAST, 1, (uint64_t)p->number);
    bind_number(e, LAST, 2, p->next);
    return step(e, LAST);
}

static bool read_revision(engine_t *e, ensign_slice_t key, uint64_t *revision)
{
    int rc;

    bind(e, REVISION, 1, key);
    rc = sqlite3_step(e->st[REVISION]);
    *revision = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(e->st[REVISION], 0) : 0;
    sqlite3_reset(e->st[REVISION]);
    return rc == SQLITE_ROW || rc == SQLITE_DONE;
}

static bool put(engine_t *e, const log_put_t *r, bool *refused, uint64_t *revision)
{
    int st = r->value.len ? PUT : REMOVE;
    uint64_t there;

    if (!read_revision(e, r->key, &there)) return false;
    *refused = r->revision != LOG_ANY_REVISION && r->revision != there;
    if (*refused) return true;
    *revision = ++e->revision;
    bind(e, st, 1, r->key);
    if (st == PUT) {
        bind(e, st, 2, r->value);
        bind_number(e, st, 3, *revision);
    }
    return step(e, st);
}

static bool write_one(engine_t *e, write_t *w, stamp_t when)
{
    if (!w->r) return true;
    switch (w->kind) {
    case WRITE_APPEND: return append(e, (log_append_t *)w->r, when, &w->number);
    case WRITE_AMEND: return amend(e, (log_amend_t *)w->r);
    case WRITE_DESTROY: return destroy(e, (log_destroy_t *)w->r, &w->more);
    case WRITE_PUT: break;
    }
    return put(e, (log_put_t *)w->r, &w->refused, &w->number);
}

/* Projects come last: an append may have made one. */
static bool write_batch(engine_t *e, stamp_t when)
{
    if (!step(e, BEGIN)) return false;
    for (size_t i = 0; i < e->project_count; i++) e->projects[i].next = e->projects[i].last;
    for (size_t i = 0; i < e->batch.count; i++)
        if (!write_one(e, &e->batch.at[i], when)) return false;
    return store_projects(e) && step(e, COMMIT);
}

static void fail_batch(engine_t *e)
{
    why_t why;

    fail(&why, "store: %s; see that the disk has room and the folder may be written", sqlite3_errmsg(e->db));
    log_line("%s", why.text);
    if (!sqlite3_get_autocommit(e->db)) step(e, ROLLBACK);
    e->again = now_ms() + AGAIN_MS;
    for (size_t i = 0; i < e->batch.count; i++) {
        log_request_t *r = e->batch.at[i].r;
        log_append_t *a = e->batch.at[i].kind == WRITE_APPEND ? (log_append_t *)r : NULL;
        for (size_t k = 0; a && k < a->count; k++) a->events[k].offset = 0;
        if (r) log_answer(e->front, r, LOG_FAILED, why.text);
    }
}

static void tell(engine_t *e, const write_t *w)
{
    const log_append_t *r = (const log_append_t *)w->r;

    if (!project_of(e, &r->project)->followed) return;
    if (r->count > e->told_cap) {
        e->told_cap = 2 * r->count;
        e->told = x_realloc(e->told, e->told_cap * sizeof *e->told);
    }
    for (size_t i = 0; i < r->count; i++) {
        e->told[i].offset = r->events[i].offset;
        e->told[i].topic = r->events[i].topic;
        e->told[i].id = rlid_make((int64_t)w->number, (uint32_t)r->events[i].offset);
        e->told[i].committed = r->committed;
        e->told[i].value = r->events[i].value;
    }
    log_told(e->front, &r->project, e->told, r->count);
}

/* A watch may cancel the put that it hears of. */
static void tell_put(engine_t *e, write_t *w)
{
    log_put_t *r = (log_put_t *)w->r;

    if (w->refused) {
        log_answer(e->front, &r->base, LOG_CHANGED, NULL);
        return;
    }
    log_known(e->front, r->key, r->value, w->number);
    if (!w->r) return;
    r->revision = w->number;
    log_answer(e->front, &r->base, LOG_OK, NULL);
}

static void answer_batch(engine_t *e)
{
    for (size_t i = 0; i < e->project_count; i++) {
        e->projects[i].stored = true;
        e->projects[i].last = e->projects[i].next;
    }
    for (size_t i = 0; i < e->batch.count; i++) {
        write_t *w = &e->batch.at[i];
        if (!w->r) continue;
        if (w->kind == WRITE_APPEND) tell(e, w);
        if (w->kind == WRITE_PUT) tell_put(e, w);
        else if (w->kind == WRITE_DESTROY && w->more) ask(e, WRITE_DESTROY, w->r);
        else log_answer(e->front, w->r, LOG_OK, NULL);
    }
}

/* Those that tell of it may ask for more meanwhile: that is for the next run. */
static void run_writes(engine_t *e)
{
    writes_t batch = e->writes;
    stamp_t now;

    if (batch.count == 0 && (!has_new_project(e) || e->mode == LOG_READ || now_ms() < e->again)) return;
    e->writes = e->batch;
    e->batch = batch;
    wall_now(&now.seconds, &now.nanos);
    if (write_batch(e, now)) answer_batch(e);
    else fail_batch(e);
    e->batch.count = 0;
}

/* ---- reads */

static void page_put(page_t *page, sqlite3_stmt *st, const ulid_t *topic)
{
    ensign_slice_t value = column(st, 5);
    int64_t at = sqlite3_column_int64(st, 4);
    log_event_t *x;

    if (page->count == page->cap) {
        page->cap = page->cap ? 2 * page->cap : 64;
        page->events = x_realloc(page->events, page->cap * sizeof *page->events);
    }
    x = &page->events[page->count++];
    x->offset = (uint64_t)sqlite3_column_int64(st, 0) & OFFSET_MOST;
    x->topic = *topic;
    x->id = column_id(st, 3, x->offset, at);
    x->committed.seconds = at / 1000000000;
    x->committed.nanos = (int32_t)(at % 1000000000);
    x->value = value;
    buf_put(&page->bytes, value.ptr, value.len);
}

/* The bytes have moved for the last time. */
static void page_close(page_t *page)
{
    const uint8_t *at = page->bytes.ptr;

    for (size_t i = 0; i < page->count; i++) {
        page->events[i].value.ptr = at;
        if (at) at += page->events[i].value.len;
    }
}

static void pages_clear(engine_t *e)
{
    for (size_t i = 0; i < e->page_count; i++) {
        e->pages[i].count = 0;
        e->pages[i].bytes.start = e->pages[i].bytes.end = 0;
        if (e->pages[i].bytes.cap > READ_BYTES) buf_free(&e->pages[i].bytes);
    }
    e->page_count = 0;
}

/* The first event behind `after`: 1 there is one, 0 there is none, -1 it failed. */
static int find(engine_t *e, const project_t *p, uint64_t after, uint64_t *offset, rlid_t *id)
{
    sqlite3_stmt *st = e->st[FIND];
    int rc;

    bind_number(e, FIND, 1, place_of(p, after));
    bind_number(e, FIND, 2, place_of(p, p->last));
    rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        *offset = (uint64_t)sqlite3_column_int64(st, 0) & OFFSET_MOST;
        *id = column_id(st, 1, *offset, sqlite3_column_int64(st, 2));
    }
    sqlite3_reset(st);
    return rc == SQLITE_ROW ? 1 : rc == SQLITE_DONE ? 0 : -1;
}

/* The offset behind which the first event with this id or a higher one stands. The lower part of an id is its
   offset's; with ids of old folders it is not, and then the place is found by bisection. */
static bool find_id(engine_t *e, const project_t *p, const rlid_t *id, uint64_t *after)
{
    uint32_t part = (uint32_t)id->b[6] << 24 | (uint32_t)id->b[7] << 16 | (uint32_t)id->b[8] << 8 | id->b[9];
    uint64_t low = (p->last & ~(uint64_t)UINT32_MAX) | part, high = p->last, offset;
    rlid_t there;
    int found = 0;

    if (low > p->last && low > UINT32_MAX) low -= (uint64_t)1 << 32;
    if (low && low <= p->last) found = find(e, p, *after = low - 1, &offset, &there);
    if (found == 1 && offset == low && memcmp(&there, id, sizeof there) == 0) return true;
    for (low = 0; found >= 0 && low < high;) {
        uint64_t middle = low + (high - low) / 2;
        found = find(e, p, middle, &offset, &there);
        if (found == 1 && memcmp(&there, id, sizeof there) < 0) low = offset;
        else high = middle;
    }
    *after = low;
    return found >= 0;
}

static int topic_order(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(ulid_t));
}

static bool is_wanted(const log_read_t *r, const ulid_t *topic)
{
    return r->topic_count < 2 || bsearch(topic, r->topics, r->topic_count, sizeof *topic, topic_order);
}

/* Takes events until there is enough. Returns the last result of sqlite3_step. */
static int walk(log_read_t *r, sqlite3_stmt *st, page_t *page, size_t *examined)
{
    size_t most = r->most_bytes && r->most_bytes < READ_BYTES ? r->most_bytes : READ_BYTES, here = 0;
    ulid_t topic;
    int rc = SQLITE_ROW;

    while (page->count < r->most_events && buf_len(&page->bytes) < most && here < READ_EXAMINED &&
           (rc = sqlite3_step(st)) == SQLITE_ROW) {
        ++*examined;
        here++;
        r->reached = (uint64_t)sqlite3_column_int64(st, 0) & OFFSET_MOST;
        topic = column_topic(st, 1);
        if (is_wanted(r, &topic)) page_put(page, st, &topic);
    }
    return rc;
}

static bool read_page(engine_t *e, log_read_t *r, page_t *page, size_t *examined)
{
    const project_t *p = project_of(e, &r->project);
    uint64_t until = r->until < p->last ? r->until : p->last, after = r->after;
    int which = r->topic_count == 1 ? READ_TOPIC : READ_ALL, rc = SQLITE_DONE;

    if (r->by_id && !find_id(e, p, &r->id, &after)) return false;
    r->reached = after;
    if (after < until) {
        bind_number(e, which, 1, place_of(p, after));
        bind_number(e, which, 2, place_of(p, until));
        if (which == READ_TOPIC) bind_topic(e, which, 3, &r->topics[0]);
        rc = walk(r, e->st[which], page, examined);
        sqlite3_reset(e->st[which]);
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) return false;
    if (rc == SQLITE_DONE && r->reached < until) r->reached = until;
    r->end = r->reached >= until;
    page_close(page);
    r->events = page->events;
    r->count = page->count;
    return true;
}

static void run_reads(engine_t *e)
{
    size_t n = 0, examined = 0, bytes = 0;

    for (; n < e->read_count && n < RUN_READS && examined < RUN_EXAMINED && bytes < RUN_BYTES; n++) {
        log_read_t *r = e->reads[n];
        page_t *page = &e->pages[e->page_count++];
        bool ok = read_page(e, r, page, &examined);
        bytes += buf_len(&page->bytes);
        log_answer(e->front, &r->base, ok ? LOG_OK : LOG_FAILED, sqlite3_errmsg(e->db));
    }
    e->read_count -= n;
    if (n) memmove(e->reads, e->reads + n, e->read_count * sizeof *e->reads);
}

/* ---- the engine */

static void sqlite_run(void *engine)
{
    engine_t *e = engine;

    pages_clear(e);
    run_writes(e);
    run_reads(e);
}

static int sqlite_fd(const void *engine)
{
    (void)engine;
    return -1;
}

static int64_t sqlite_due(const void *engine)
{
    const engine_t *e = engine;

    if (e->writes.count || e->read_count) return 1;
    return has_new_project(e) && e->mode == LOG_WRITE ? e->again + 1 : 0;
}

static uint64_t sqlite_epoch(void *engine, const ulid_t *project)
{
    return project_of(engine, project)->epoch;
}

static uint64_t sqlite_last(void *engine, const ulid_t *project)
{
    return project_of(engine, project)->last;
}

const log_engine_t log_sqlite = {
    "SQLite", true, false, sqlite_open, sqlite_append, sqlite_read, sqlite_amend, sqlite_destroy, sqlite_put,
    sqlite_cancel, sqlite_follow, sqlite_run, sqlite_fd, sqlite_due, sqlite_epoch, sqlite_last, sqlite_close
};
