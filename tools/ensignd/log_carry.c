/* log_carry.c - see log_carry.h
 *
 * The old table `record` has four spaces. What becomes of their records:
 *
 *     1  settings, by name          setting/ name; "destroy:" and a topic's ULID as text: destroy/ topic
 *     2  API keys, by id            key/ id
 *     3  topics, by project and id  topic/ project name. The value was the name's length in two bytes, the
 *                                   name, and the Topic; the Topic remains
 *     4  events, by topic and RLID  events, with offsets from 1 in the order of the RLIDs of a project. An
 *                                   event keeps its RLID, and the time of its commit: the wrapper's, or the
 *                                   RLID's, where an ensignd with --strict has stored it without
 *
 * Events of topics that are no more are left behind: nothing could reach them. */
#include "messages.h"
#include "ids.h"
#include "log_carry.h"
#include <stdlib.h>
#include <string.h>

static bool run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

bool carry_needed(sqlite3 *db)
{
    sqlite3_stmt *st = NULL;
    bool found = sqlite3_prepare_v2(db, "SELECT 1 FROM sqlite_master WHERE name = 'record'", -1, &st, NULL) ==
                     SQLITE_OK && sqlite3_step(st) == SQLITE_ROW;

    sqlite3_finalize(st);
    return found;
}

/* Not 0, and below 2^53: some clients read numbers as floating point. */
uint64_t epoch_new(void)
{
    uint64_t epoch;

    if (!random_bytes(&epoch, sizeof epoch)) epoch = (uint64_t)wall_ms();
    return (epoch >> 11) | 1;
}

/* ---- SQL functions, which the statements below use */

static ensign_slice_t argument(sqlite3_value *v)
{
    const void *p = sqlite3_value_blob(v);
    return slice_of(p, (size_t)sqlite3_value_bytes(v));
}

static void result(sqlite3_context *c, ensign_slice_t bytes)
{
    sqlite3_result_blob64(c, bytes.len ? (const void *)bytes.ptr : "", bytes.len, SQLITE_TRANSIENT);
}

static void new_epoch(sqlite3_context *c, int n, sqlite3_value **args)
{
    (void)n;
    (void)args;
    sqlite3_result_int64(c, (int64_t)epoch_new());
}

/* joined(BYTES...) */
static void joined(sqlite3_context *c, int n, sqlite3_value **args)
{
    buf_t out = { NULL, 0, 0, 0 };

    for (int i = 0; i < n; i++)
        buf_put(&out, sqlite3_value_blob(args[i]), (size_t)sqlite3_value_bytes(args[i]));
    result(c, buf_bytes(&out));
    buf_free(&out);
}

/* ulid(TEXT) */
static void ulid(sqlite3_context *c, int n, sqlite3_value **args)
{
    ulid_t id;
    (void)n;

    if (ulid_parse(argument(args[0]), &id)) result(c, slice_of(id.b, sizeof id.b));
    else sqlite3_result_null(c);
}

/* name_end(VALUE): where a topic's name ends, counted from 1 */
static void name_end(sqlite3_context *c, int n, sqlite3_value **args)
{
    ensign_slice_t v = argument(args[0]);
    (void)n;

    sqlite3_result_int(c, v.len < 2 ? 2 : 2 + (v.ptr[0] << 8 | v.ptr[1]));
}

/* part(KEY, N): eight bytes of a topic's ULID, from the Nth on, as an integer */
static void part(sqlite3_context *c, int n, sqlite3_value **args)
{
    ensign_slice_t key = argument(args[0]);
    size_t from = (size_t)sqlite3_value_int(args[1]);
    uint64_t v = 0;
    (void)n;

    for (size_t i = from; i < from + 8 && i < key.len; i++) v = v << 8 | key.ptr[i];
    sqlite3_result_int64(c, (int64_t)v);
}

/* committed(KEY, VALUE): in ns since 1970 */
static void committed(sqlite3_context *c, int n, sqlite3_value **args)
{
    ensign_slice_t key = argument(args[0]);
    msg_event_wrapper_t w;
    int64_t ms = 0;
    (void)n;

    if (msg_decode(MSG_EVENT_WRAPPER, &w, argument(args[1])) && w.has_committed) {
        sqlite3_result_int64(c, w.committed.seconds * 1000000000 + w.committed.nanos);
        return;
    }
    for (size_t i = 16; i < 22 && i < key.len; i++) ms = ms << 8 | key.ptr[i];
    sqlite3_result_int64(c, ms * 1000000);
}

/* bare(VALUE): the wrapper without what the log itself says of an event. One that cannot be read stays. */
static void bare(sqlite3_context *c, int n, sqlite3_value **args)
{
    ensign_slice_t value = argument(args[0]);
    const uint8_t *p = value.ptr, *end = value.len ? p + value.len : p, *from;
    buf_t out = { NULL, 0, 0, 0 };
    msg_item_t field;
    (void)n;

    for (from = p; p < end && msg_item_next(&p, end, &field); from = p)
        if (field.tag != MSG_EVENT_WRAPPER_ID_TAG && field.tag != MSG_EVENT_WRAPPER_OFFSET_TAG &&
            field.tag != MSG_EVENT_WRAPPER_EPOCH_TAG && field.tag != MSG_EVENT_WRAPPER_COMMITTED_TAG &&
            field.tag != MSG_EVENT_WRAPPER_LOCAL_ID_TAG)
            buf_put(&out, from, (size_t)(p - from));
    result(c, p == end ? buf_bytes(&out) : value);
    buf_free(&out);
}

static bool add(sqlite3 *db, const char *name, int arguments,
                void (*function)(sqlite3_context *, int, sqlite3_value **))
{
    return sqlite3_create_function(db, name, arguments, SQLITE_UTF8, NULL, function, NULL, NULL) == SQLITE_OK;
}

/* ---- the records */

static const char metadata_sql[] =
    "INSERT INTO metadata SELECT joined('setting/', key), value, 1 FROM record"
    " WHERE space = 1 AND substr(key, 1, 8) <> CAST('destroy:' AS BLOB);"
    "INSERT INTO metadata SELECT joined('destroy/', ulid(substr(key, 9))), value, 1 FROM record"
    " WHERE space = 1 AND substr(key, 1, 8) = CAST('destroy:' AS BLOB);"
    "INSERT INTO metadata SELECT joined('key/', key), value, 1 FROM record WHERE space = 2;"
    "INSERT INTO metadata SELECT joined('topic/', substr(key, 1, 16), substr(value, 3, name_end(value) - 2)),"
    " substr(value, name_end(value) + 1), 1 FROM record WHERE space = 3 AND length(key) = 32;";

/* The order of the events is found without their values, which may be large: by a table whose rows are
   numbered as they are put into it. */
static const char events_sql[] =
    "INSERT INTO project(id, epoch, last) SELECT id, new_epoch(), 0 FROM"
    " (SELECT DISTINCT substr(key, 1, 16) AS id FROM record WHERE space = 3 AND length(key) = 32);"
    "CREATE TEMP TABLE carried_topic(topic BLOB PRIMARY KEY, project INTEGER) WITHOUT ROWID;"
    "INSERT INTO carried_topic SELECT substr(r.key, 17), p.number FROM record r"
    " JOIN project p ON p.id = substr(r.key, 1, 16) WHERE r.space = 3 AND length(r.key) = 32;"
    "CREATE TEMP TABLE carried_event(number INTEGER PRIMARY KEY, record INTEGER, project INTEGER);"
    "INSERT INTO carried_event(record, project) SELECT r.rowid, t.project FROM record r"
    " JOIN carried_topic t ON t.topic = substr(r.key, 1, 16) WHERE r.space = 4 AND length(r.key) = 26"
    " ORDER BY t.project, substr(r.key, 17), r.key;"
    "CREATE TEMP TABLE carried_first(project INTEGER PRIMARY KEY, number INTEGER);"
    "INSERT INTO carried_first SELECT project, min(number) FROM carried_event GROUP BY project;"
    "INSERT INTO event(place, high, low, id, at, value)"
    " SELECT e.project << 44 | (e.number - f.number + 1), part(r.key, 0), part(r.key, 8), substr(r.key, 17),"
    " committed(r.key, r.value), bare(r.value) FROM carried_event e"
    " CROSS JOIN carried_first f ON f.project = e.project CROSS JOIN record r ON r.rowid = e.record;";
static const char end_sql[] =
    "DROP TABLE record; DROP TABLE carried_topic; DROP TABLE carried_event; DROP TABLE carried_first;";

bool carry_over(sqlite3 *db)
{
    return add(db, "new_epoch", 0, new_epoch) && add(db, "joined", -1, joined) && add(db, "ulid", 1, ulid) &&
           add(db, "name_end", 1, name_end) && add(db, "part", 2, part) &&
           add(db, "committed", 2, committed) && add(db, "bare", 1, bare) &&
           run(db, metadata_sql) && run(db, events_sql) && run(db, end_sql);
}
