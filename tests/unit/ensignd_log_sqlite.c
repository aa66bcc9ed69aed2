/* ensignd_log_sqlite.c - the log on SQLite: reopening, old folders, ids, epochs, a disk that is full; and the
   front's retries, on a clock of the test's */
#define _POSIX_C_SOURCE 200809L
#include "../../tools/ensignd/messages.h"
static int64_t clock_ms = 1000000;
static int64_t test_now(void)
{
    return clock_ms;
}
#define now_ms test_now
#include "../../tools/ensignd/log.c"
#undef now_ms
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define TIMEOUT_MS 5000

static char folder[] = "/tmp/ensignd_log.XXXXXX";
static char path[64];
static log_t *l;
static why_t why;
static const ulid_t project = { "project-1......" }, other_project = { "project-2......" };
static const ulid_t orders = { "topic-orders..." }, bills = { "topic-bills...." };

static void open_log(void)
{
    l = log_open(&log_sqlite, folder, LOG_WRITE, TIMEOUT_MS, &why);
    if (!l) print_message("%s\n", why.text);
    assert_non_null(l);
}

static void reopen(void)
{
    log_close(l);
    open_log();
}

static int set_up(void **state)
{
    (void)state;
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/ensignd.db", folder);
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = { "ensignd.db", "ensignd.db-wal", "ensignd.db-shm", "lock" };
    char name[64];
    (void)state;

    log_close(l);
    l = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(name, sizeof name, "%s/%s", folder, names[i]);
        remove(name);
    }
    return rmdir(folder);
}

static void note_done(log_request_t *r)
{
    ++*(int *)r->user;
}

/* ---- short ways to ask */

static log_append_t appending;
static log_new_t new_event;
static int appended;

static void ask_append(const ulid_t *to, const ulid_t *topic, const char *value)
{
    appended = 0;
    memset(&appending, 0, sizeof appending);
    appending.base.done = note_done;
    appending.base.user = &appended;
    appending.project = *to;
    new_event.topic = *topic;
    new_event.value = slice_text(value);
    appending.events = &new_event;
    appending.count = 1;
    log_append(l, &appending);
    assert_int_equal(appended, 0);
}

static uint64_t append(const ulid_t *topic, const char *value)
{
    ask_append(&project, topic, value);
    log_run(l);
    assert_int_equal(appended, 1);
    assert_int_equal(appending.base.result, LOG_OK);
    return new_event.offset;
}

static log_read_t reading;
static char found[400];                 /* "offset=value " of each event */
static rlid_t found_id;                 /* of the first one */

static void note_read(log_request_t *r)
{
    const log_read_t *x = (const log_read_t *)r;

    assert_int_equal(r->result, LOG_OK);
    found[0] = '\0';
    for (size_t i = 0; i < x->count; i++)
        snprintf(found + strlen(found), sizeof found - strlen(found), "%u=%.*s ", (unsigned)x->events[i].offset,
                 (int)x->events[i].value.len, (const char *)x->events[i].value.ptr);
    if (x->count) found_id = x->events[0].id;
}

static const char *do_read(const ulid_t *topics, size_t topic_count, uint64_t after, uint64_t until)
{
    reading.base.done = note_read;
    reading.project = project;
    reading.topics = topics;
    reading.topic_count = topic_count;
    reading.after = after;
    reading.until = until;
    reading.most_events = 100;
    strcpy(found, "no answer");
    log_read(l, &reading);
    log_run(l);
    return found;
}

static const char *read_all(void)
{
    memset(&reading, 0, sizeof reading);
    return do_read(NULL, 0, 0, UINT64_MAX);
}

static const char *read_by_id(const rlid_t *id)
{
    memset(&reading, 0, sizeof reading);
    reading.by_id = true;
    reading.id = *id;
    return do_read(NULL, 0, 0, UINT64_MAX);
}

static log_result_t put(const char *key, const char *value, uint64_t revision, uint64_t *now)
{
    log_put_t p;
    int done = 0;

    memset(&p, 0, sizeof p);
    p.base.done = note_done;
    p.base.user = &done;
    p.key = slice_text(key);
    p.value = slice_text(value);
    p.revision = revision;
    log_put(l, &p);
    log_run(l);
    assert_int_equal(done, 1);
    if (now) *now = p.revision;
    return p.base.result;
}

static void has(const char *key, const char *value)
{
    ensign_slice_t v;

    assert_int_equal(log_get(l, slice_text(key), &v, NULL), value != NULL);
    assert_true(slice_is(v, value ? value : ""));
}

/* ---- the log */

static void offsets_go_on_after_a_reopening(void **state)
{
    uint64_t epoch;
    (void)state;

    open_log();
    epoch = log_epoch(l, &project);
    assert_int_equal(log_last(l, &project), 0);
    assert_int_equal(append(&orders, "a"), 1);
    assert_int_equal(append(&bills, "b"), 2);
    reopen();
    assert_true(epoch != 0 && log_epoch(l, &project) == epoch);
    assert_true(log_epoch(l, &other_project) != epoch);
    assert_int_equal(log_last(l, &project), 2);
    assert_int_equal(append(&orders, "c"), 3);
    assert_string_equal(read_all(), "1=a 2=b 3=c ");
    assert_true(reading.end && reading.reached == 3);
}

static void an_epoch_that_was_told_is_kept(void **state)
{
    uint64_t epoch;
    (void)state;

    open_log();
    epoch = log_epoch(l, &project);
    assert_true(log_due(l) != 0);
    log_run(l);
    assert_int_equal(log_due(l), 0);
    reopen();
    assert_true(log_epoch(l, &project) == epoch);
}

static void a_read_takes_the_topics_that_it_names(void **state)
{
    ulid_t both[2];
    (void)state;

    open_log();
    append(&orders, "a");
    append(&bills, "b");
    append(&orders, "c");
    memset(&reading, 0, sizeof reading);
    assert_string_equal(do_read(&orders, 1, 0, UINT64_MAX), "1=a 3=c ");
    assert_string_equal(do_read(&bills, 1, 0, UINT64_MAX), "2=b ");
    assert_int_equal(reading.reached, 3);
    assert_string_equal(do_read(&bills, 1, 2, UINT64_MAX), "");
    assert_string_equal(do_read(&orders, 1, 1, 2), "");
    assert_true(reading.end && reading.reached == 2);
    both[0] = bills;
    both[1] = orders;
    assert_string_equal(do_read(both, 2, 0, 2), "1=a 2=b ");
    both[1] = bills;
    both[0] = project;
    assert_string_equal(do_read(both, 2, 0, UINT64_MAX), "2=b ");
}

/* One read looks at so many records; `reached` goes on with every one of them. */
static void a_long_read_comes_in_parts(void **state)
{
    static log_new_t many[3000];
    uint64_t reached[9];
    size_t parts = 0;
    ulid_t both[2];
    (void)state;

    open_log();
    memset(&appending, 0, sizeof appending);
    for (size_t i = 0; i < 3000; i++) {
        many[i].topic = i == 2500 ? bills : orders;
        many[i].value = slice_text("x");
    }
    appended = 0;
    appending.base.done = note_done;
    appending.base.user = &appended;
    appending.project = project;
    appending.events = many;
    appending.count = 3000;
    log_append(l, &appending);
    log_run(l);
    assert_int_equal(appended, 1);
    assert_int_equal(many[2999].offset, 3000);
    both[0] = project;                  /* a topic without events */
    both[1] = bills;
    memset(&reading, 0, sizeof reading);
    do {
        do_read(both, 2, reading.reached, UINT64_MAX);
        assert_string_equal(found, parts == 2 ? "2501=x " : "");
        reached[parts++] = reading.reached;
    } while (!reading.end && parts < 9);
    assert_int_equal(parts, 3);
    assert_int_equal(reached[0], 1024);
    assert_int_equal(reached[2], 3000);
}

static void an_id_finds_its_event(void **state)
{
    rlid_t ids[3], none;
    (void)state;

    open_log();
    for (size_t i = 0; i < 3; i++) {
        append(&orders, i == 0 ? "a" : i == 1 ? "b" : "c");
        memset(&reading, 0, sizeof reading);
        do_read(NULL, 0, i, UINT64_MAX);
        ids[i] = found_id;
    }
    assert_true(memcmp(&ids[0], &ids[1], sizeof ids[0]) < 0 && memcmp(&ids[1], &ids[2], sizeof ids[0]) < 0);
    assert_string_equal(read_by_id(&ids[0]), "1=a 2=b 3=c ");
    assert_string_equal(read_by_id(&ids[2]), "3=c ");
    none = ids[1];
    none.b[6] = 1;                      /* the lower part names an offset that there is not */
    assert_string_equal(read_by_id(&none), ids[1].b[5] == ids[2].b[5] ? "" : "3=c ");
    memset(&none, 0, sizeof none);
    assert_string_equal(read_by_id(&none), "1=a 2=b 3=c ");
    memset(&none, 0xff, sizeof none);
    assert_string_equal(read_by_id(&none), "");
}

/* A clock that goes back, between two runs, gives no lower ids. */
static void the_first_id_after_a_reopening_is_above_the_last(void **state)
{
    rlid_t last;
    (void)state;

    open_log();
    append(&orders, "a");
    read_all();
    last = found_id;
    reopen();
    append(&orders, "b");
    memset(&reading, 0, sizeof reading);
    do_read(NULL, 0, 1, UINT64_MAX);
    assert_true(memcmp(&found_id, &last, sizeof last) > 0);
}

static void the_offsets_of_a_destroyed_topic_are_not_given_again(void **state)
{
    log_destroy_t d;
    int done = 0;
    (void)state;

    open_log();
    append(&bills, "a");
    append(&orders, "b");
    memset(&d, 0, sizeof d);
    d.base.done = note_done;
    d.base.user = &done;
    d.project = project;
    d.topic = orders;
    log_destroy(l, &d);
    log_run(l);
    assert_int_equal(done, 1);
    assert_string_equal(read_all(), "1=a ");
    reopen();
    assert_int_equal(append(&bills, "c"), 3);
}

static void an_event_is_amended(void **state)
{
    log_amend_t a;
    int done = 0;
    (void)state;

    open_log();
    append(&orders, "a");
    memset(&a, 0, sizeof a);
    a.base.done = note_done;
    a.base.user = &done;
    a.project = project;
    a.topic = orders;
    a.offset = 1;
    a.value = slice_text("changed");
    log_amend(l, &a);
    log_run(l);
    assert_true(done == 1 && a.found);
    a.offset = 2;
    log_amend(l, &a);
    log_run(l);
    assert_true(done == 2 && !a.found);
    assert_string_equal(read_all(), "1=changed ");
}

static char heard[200];

static void hear(void *user, ensign_slice_t key, ensign_slice_t value)
{
    (void)user;
    snprintf(heard + strlen(heard), sizeof heard - strlen(heard), "%.*s=%.*s ", (int)key.len,
             (const char *)key.ptr, (int)value.len, value.len ? (const char *)value.ptr : "");
}

static void metadata_is_kept_and_watched(void **state)
{
    log_watch_t w = { "a/", hear, NULL, NULL };
    uint64_t first, second;
    (void)state;

    open_log();
    log_watch(l, &w);
    assert_int_equal(put("a/1", "x", 0, &first), LOG_OK);
    assert_int_equal(put("a/1", "y", 0, NULL), LOG_CHANGED);
    assert_int_equal(put("a/1", "y", first, &second), LOG_OK);
    assert_int_equal(put("a/1", "z", first, NULL), LOG_CHANGED);
    assert_int_equal(put("b/1", "other", LOG_ANY_REVISION, NULL), LOG_OK);
    assert_int_equal(put("a/2", "", LOG_ANY_REVISION, NULL), LOG_OK);
    assert_string_equal(heard, "a/1=x a/1=y a/2= ");
    has("a/1", "y");
    reopen();
    has("a/1", "y");
    has("b/1", "other");
    has("a", NULL);
    assert_int_equal(put("a/1", "", second, NULL), LOG_OK);
    has("a/1", NULL);
    assert_int_equal(put("a/1", "new", second, NULL), LOG_CHANGED);
    assert_int_equal(put("a/1", "new", 0, NULL), LOG_OK);
}

static void note_events(log_follow_t *f, const log_event_t *events, size_t count)
{
    (void)f;
    assert_int_equal(appended, 0);      /* followers hear first */
    for (size_t i = 0; i < count; i++) hear(NULL, slice_text("event"), events[i].value);
}

static void followers_hear_of_their_project(void **state)
{
    log_follow_t f;
    (void)state;

    open_log();
    append(&orders, "before");
    heard[0] = '\0';
    memset(&f, 0, sizeof f);
    f.project = project;
    f.events = note_events;
    log_follow(l, &f);
    assert_int_equal(f.from, 1);
    append(&orders, "a");
    ask_append(&other_project, &orders, "other");
    log_run(l);
    append(&bills, "b");
    assert_string_equal(heard, "event=a event=b ");
    assert_int_equal(f.from, 3);
    log_unfollow(l, &f);
    append(&bills, "c");
    assert_string_equal(heard, "event=a event=b ");
}

/* ---- what fails */

static sqlite3 *locked;

static void lock_file(void)
{
    assert_int_equal(sqlite3_open(path, &locked), SQLITE_OK);
    assert_int_equal(sqlite3_exec(locked, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
}

static void unlock_file(void)
{
    assert_int_equal(sqlite3_close(locked), SQLITE_OK);
}

static void run_at(int64_t ms)
{
    clock_ms = ms;
    log_run(l);
}

static void a_commit_that_fails_is_tried_again(void **state)
{
    int64_t begun = clock_ms;
    (void)state;

    open_log();
    append(&orders, "a");
    lock_file();
    ask_append(&project, &orders, "b");
    log_run(l);
    assert_int_equal(appended, 0);
    assert_true(log_healthy(l));
    assert_int_equal(log_due(l), begun + RETRY_MS);
    run_at(begun + OVERDUE_MS);
    assert_int_equal(appended, 0);
    assert_false(log_healthy(l));
    unlock_file();
    run_at(begun + OVERDUE_MS + RETRY_MS);      /* hands it over, and the next turn commits it */
    log_run(l);
    assert_int_equal(appended, 1);
    assert_int_equal(appending.base.result, LOG_OK);
    assert_int_equal(new_event.offset, 2);
    log_run(l);
    assert_true(log_healthy(l));
    assert_string_equal(read_all(), "1=a 2=b ");
}

static void an_append_fails_at_the_timeout(void **state)
{
    int64_t begun = clock_ms;
    (void)state;

    open_log();
    append(&orders, "a");
    lock_file();
    ask_append(&project, &orders, "b");
    log_run(l);
    for (int64_t ms = begun; ms <= begun + TIMEOUT_MS && !appended; ms += RETRY_MS) run_at(ms);
    log_run(l);
    assert_int_equal(appended, 1);
    assert_int_equal(appending.base.result, LOG_FAILED);
    assert_non_null(strstr(appending.base.why.text, "locked"));
    assert_int_equal(new_event.offset, 0);
    assert_int_equal(clock_ms, begun + TIMEOUT_MS);
    run_at(begun + 3 * TIMEOUT_MS);
    assert_false(log_healthy(l));               /* nothing is asked for any more, and it still knows */
    unlock_file();
    for (int i = 0; i < 3; i++) run_at(clock_ms + RETRY_MS);
    assert_true(log_healthy(l));
    assert_int_equal(append(&orders, "c"), 2);
    assert_string_equal(read_all(), "1=a 2=c ");
}

/* An append that comes later does not overtake one that is tried again. */
static void the_order_stays_when_a_commit_fails(void **state)
{
    log_append_t later;
    log_new_t event;
    int done = 0;
    (void)state;

    open_log();
    append(&orders, "a");
    lock_file();
    ask_append(&project, &orders, "b");
    log_run(l);
    unlock_file();
    memset(&later, 0, sizeof later);
    later.base.done = note_done;
    later.base.user = &done;
    later.project = project;
    event.topic = orders;
    event.value = slice_text("c");
    later.events = &event;
    later.count = 1;
    log_append(l, &later);
    log_run(l);
    assert_int_equal(appended + done, 0);
    run_at(clock_ms + RETRY_MS);
    log_run(l);
    log_run(l);
    assert_true(appended == 1 && done == 1);
    assert_string_equal(read_all(), "1=a 2=b 3=c ");
}

/* No file of this process may get larger: to SQLite, that is a full disk. */
static void a_full_disk_loses_nothing(void **state)
{
    struct rlimit limit = { 0, RLIM_INFINITY };
    struct stat file;
    char wal[80];
    (void)state;

    open_log();
    append(&orders, "a");
    snprintf(wal, sizeof wal, "%s-wal", path);
    assert_int_equal(stat(wal, &file), 0);
    limit.rlim_cur = (rlim_t)file.st_size;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ask_append(&project, &orders, "b");
    log_run(l);
    assert_int_equal(appended, 0);
    limit.rlim_cur = RLIM_INFINITY;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    run_at(clock_ms + RETRY_MS);
    log_run(l);
    assert_int_equal(appended, 1);
    assert_int_equal(new_event.offset, 2);
    reopen();
    assert_string_equal(read_all(), "1=a 2=b ");
}

static void so_many_bytes_make_it_full(void **state)
{
    static char large[FULL_BYTES + 1];
    (void)state;

    memset(large, 'x', FULL_BYTES);
    open_log();
    assert_false(log_full(l));
    ask_append(&project, &orders, large);
    assert_true(log_full(l));
    log_run(l);
    assert_int_equal(appended, 1);
    assert_false(log_full(l));
}

static void a_cancelled_request_is_not_answered(void **state)
{
    int done = 0;
    log_put_t p;
    (void)state;

    open_log();
    memset(&p, 0, sizeof p);
    p.base.done = note_done;
    p.base.user = &done;
    p.key = slice_text("a");
    p.value = slice_text("b");
    log_put(l, &p);
    log_cancel(l, &p.base);
    log_run(l);
    assert_int_equal(done, 0);
}

/* ---- old folders */

static sqlite3 *old;

static void old_put(int space, ensign_slice_t key, ensign_slice_t value)
{
    sqlite3_stmt *st;

    assert_int_equal(sqlite3_prepare_v2(old, "INSERT INTO record VALUES(?1, ?2, ?3)", -1, &st, NULL), SQLITE_OK);
    sqlite3_bind_int(st, 1, space);
    sqlite3_bind_blob(st, 2, key.ptr, (int)key.len, SQLITE_TRANSIENT);
    sqlite3_bind_blob(st, 3, value.len ? (const void *)value.ptr : "", (int)value.len, SQLITE_TRANSIENT);
    assert_int_equal(sqlite3_step(st), SQLITE_DONE);
    sqlite3_finalize(st);
}

static void old_topic(const ulid_t *in, const ulid_t *id, const char *name)
{
    buf_t key = { NULL, 0, 0, 0 }, value = { NULL, 0, 0, 0 };
    uint8_t length[2] = { 0, (uint8_t)strlen(name) };

    buf_put(&key, in->b, 16);
    buf_put(&key, id->b, 16);
    buf_put(&value, length, 2);
    buf_put(&value, name, strlen(name));
    buf_put(&value, "message", 7);
    old_put(3, buf_bytes(&key), buf_bytes(&value));
    buf_free(&key);
    buf_free(&value);
}

/* seconds: when it was committed; 0: it does not say */
static void old_event(const ulid_t *topic, int64_t ms, uint32_t number, const char *text, int64_t seconds)
{
    rlid_t id = rlid_make(ms, number);
    buf_t key = { NULL, 0, 0, 0 }, value = { NULL, 0, 0, 0 };
    msg_event_wrapper_t w;

    memset(&w, 0, sizeof w);
    w.id = slice_of(id.b, sizeof id.b);
    w.topic_id = slice_of(topic->b, 16);
    w.event = slice_text(text);
    w.has_committed = seconds != 0;
    w.committed.seconds = seconds;
    w.committed.nanos = seconds ? 7 : 0;
    assert_true(msg_put(&value, MSG_EVENT_WRAPPER, &w));
    buf_put(&key, topic->b, 16);
    buf_put(&key, id.b, sizeof id.b);
    old_put(4, buf_bytes(&key), buf_bytes(&value));
    buf_free(&key);
    buf_free(&value);
}

static void make_old_folder(void)
{
    static const char destroyed[] = "destroy:0123456789ABCDEFGHJKMNPQRS";

    assert_int_equal(sqlite3_open(path, &old), SQLITE_OK);
    assert_int_equal(sqlite3_exec(old, "CREATE TABLE record(space INTEGER NOT NULL, key BLOB NOT NULL,"
                                  " value BLOB NOT NULL, UNIQUE(space, key))", NULL, NULL, NULL), SQLITE_OK);
    old_put(1, slice_text("signing-key"), slice_text("secret"));
    old_put(1, slice_text(destroyed), slice_text("1"));
    old_put(2, slice_of(orders.b, 16), slice_text("an API key"));
    old_topic(&project, &orders, "orders");
    old_topic(&project, &bills, "bills");
    old_topic(&other_project, &other_project, "orders");
    old_event(&orders, 5000, 9, "third", 77);
    old_event(&bills, 5000, 3, "second", 76);
    old_event(&orders, 4000, 4000000000u, "first", 0);
    old_event(&other_project, 4500, 1, "elsewhere", 75);
    old_event(&project, 4600, 2, "of a topic that is no more", 74);
    assert_int_equal(sqlite3_close(old), SQLITE_OK);
}

static char carried[300];

static void note_carried(log_request_t *r)
{
    const log_read_t *x = (const log_read_t *)r;
    char id[RLID_TEXT + 1];

    carried[0] = '\0';
    for (size_t i = 0; i < x->count; i++) {
        const log_event_t *e = &x->events[i];
        msg_event_wrapper_t w;
        assert_true(msg_decode(MSG_EVENT_WRAPPER, &w, e->value));
        assert_true(w.id.len == 0 && !w.has_committed && w.topic_id.len == 16);
        rlid_text(&e->id, id);
        snprintf(carried + strlen(carried), sizeof carried - strlen(carried), "%u %.*s %d.%d; ",
                 (unsigned)e->offset, (int)w.event.len, (const char *)w.event.ptr, (int)e->committed.seconds,
                 (int)e->committed.nanos);
    }
}

static bool count_key(void *user, ensign_slice_t key, ensign_slice_t value)
{
    (void)key;
    (void)value;
    ++*(int *)user;
    return true;
}

static void an_old_folder_is_carried_over(void **state)
{
    rlid_t id = rlid_make(5000, 3);
    char topic_key[64];
    ensign_slice_t value;
    int topics = 0, destroyed = 0;
    (void)state;

    make_old_folder();
    for (int i = 0; i < 2; i++) {       /* the second time there is nothing to carry */
        if (i) reopen();
        else open_log();
        memset(&reading, 0, sizeof reading);
        reading.base.done = note_carried;
        reading.project = project;
        reading.until = UINT64_MAX;
        reading.most_events = 10;
        log_read(l, &reading);
        log_run(l);
        assert_string_equal(carried, "1 first 4.0; 2 second 76.7; 3 third 77.7; ");
        reading.project = other_project;
        log_read(l, &reading);
        log_run(l);
        assert_string_equal(carried, "1 elsewhere 75.7; ");
    }
    memset(&reading, 0, sizeof reading);
    reading.base.done = note_carried;
    reading.project = project;
    reading.until = UINT64_MAX;
    reading.most_events = 1;
    reading.by_id = true;
    reading.id = id;                    /* its lower part is the offset of another event */
    log_read(l, &reading);
    log_run(l);
    assert_string_equal(carried, "2 second 76.7; ");
    has("setting/signing-key", "secret");
    snprintf(topic_key, sizeof topic_key, "topic/%.*sorders", 16, "");
    memcpy(topic_key + 6, project.b, 16);
    memcpy(topic_key + 22, "orders", 6);
    assert_true(log_get(l, slice_of(topic_key, 28), &value, NULL));
    assert_true(slice_is(value, "message"));
    log_each(l, "topic/", count_key, &topics);
    assert_int_equal(topics, 3);
    log_each(l, "destroy/", count_key, &destroyed);
    assert_int_equal(destroyed, 1);
    assert_int_equal(append(&orders, "new"), 4);
    assert_int_equal(log_epoch(l, &project) == log_epoch(l, &other_project), false);
}

/* The lock is the process's, so another process has to hold it. It opens what it closes, and so ends without
   memory that it has from this one. */
static pid_t start_writer(int done)
{
    int opened[2];
    char said;
    pid_t child;

    assert_int_equal(pipe(opened), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        log_t *other = log_open(&log_sqlite, folder, LOG_WRITE, TIMEOUT_MS, &why);
        if (!other || write(opened[1], "1", 1) != 1) _exit(1);
        while (read(done, &said, 1) < 0) {
        }
        log_close(other);
        _exit(0);
    }
    close(opened[1]);
    assert_int_equal(read(opened[0], &said, 1), 1);
    close(opened[0]);
    return child;
}

static void a_second_writer_is_refused(void **state)
{
    int done[2], status;
    pid_t child;
    (void)state;

    assert_int_equal(pipe(done), 0);
    child = start_writer(done[0]);
    assert_null(log_open(&log_sqlite, folder, LOG_WRITE, TIMEOUT_MS, &why));
    assert_non_null(strstr(why.text, "in use by another ensignd"));
    assert_int_equal(write(done[1], "1", 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(done[0]);
    close(done[1]);
    open_log();
}

#define ONE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        ONE(offsets_go_on_after_a_reopening),
        ONE(an_epoch_that_was_told_is_kept),
        ONE(a_read_takes_the_topics_that_it_names),
        ONE(a_long_read_comes_in_parts),
        ONE(an_id_finds_its_event),
        ONE(the_first_id_after_a_reopening_is_above_the_last),
        ONE(the_offsets_of_a_destroyed_topic_are_not_given_again),
        ONE(an_event_is_amended),
        ONE(metadata_is_kept_and_watched),
        ONE(followers_hear_of_their_project),
        ONE(a_commit_that_fails_is_tried_again),
        ONE(an_append_fails_at_the_timeout),
        ONE(the_order_stays_when_a_commit_fails),
        ONE(a_full_disk_loses_nothing),
        ONE(so_many_bytes_make_it_full),
        ONE(a_cancelled_request_is_not_answered),
        ONE(an_old_folder_is_carried_over),
        ONE(a_second_writer_is_refused),
    };
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
