/* ensignd_store.c - the development server's store: batches, removal, order; in memory and in a folder */
#define _POSIX_C_SOURCE 200809L
#include "../../tools/ensignd/util.c"
#include "../../tools/ensignd/store.c"
#include "../../tools/ensignd/store_sqlite.c"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static char folder[] = "/tmp/ensignd_store.XXXXXX";
static const char *where; /* NULL: in memory */
static store_t *store;
static why_t why;

static void put(const char *key, const char *value)
{
    store_record_t r = { STORE_EVENT, slice_text(key), slice_text(value) };
    assert_true(store_append(store, &r, 1, &why));
}

static bool join(void *user, ensign_slice_t key, ensign_slice_t value)
{
    buf_t *out = user;
    buf_put(out, key.ptr, key.len);
    buf_put(out, "=", 1);
    buf_put(out, value.ptr, value.len);
    buf_put(out, " ", 1);
    return true;
}

static void holds(const char *prefix, const char *after, const char *wanted)
{
    buf_t b = { NULL, 0, 0, 0 };

    assert_true(store_scan(store, STORE_EVENT, slice_text(prefix), slice_text(after), join, &b, &why));
    buf_put(&b, "", 1);
    assert_string_equal(b.ptr, wanted);
    buf_free(&b);
}

static size_t removes(const char *prefix, size_t most)
{
    size_t n = 99;
    assert_true(store_remove(store, STORE_EVENT, slice_text(prefix), most, &n, &why));
    return n;
}

static int open_one(void **state)
{
    where = *state;
    store = store_open(&store_sqlite, where, STORE_WRITE, &why);
    return store ? 0 : -1;
}

static int close_one(void **state)
{
    (void)state;
    store_close(store);
    return 0;
}

static void what_was_put_is_there_in_order(void **state)
{
    buf_t b = { NULL, 0, 0, 0 };
    (void)state;

    put("ord/b", "2");
    put("ord/a", "1");
    put("ore", "3");
    assert_true(store_commit(store, &why));
    put("ord/b", "4");      /* replaces */
    holds("ord/", "", "ord/a=1 ord/b=4 ");
    holds("ord", "ord/a", "ord/b=4 ");
    assert_true(store_get(store, STORE_EVENT, slice_text("ord/a"), &b, &why));
    assert_true(slice_is(buf_bytes(&b), "1"));
    assert_true(store_get(store, STORE_TOPIC, slice_text("ord/a"), &b, &why));
    assert_int_equal(buf_len(&b), 0);
    assert_true(store_tail(store, STORE_EVENT, slice_text("ord"), &b, &why));
    assert_true(slice_is(buf_bytes(&b), "ord/b"));
    buf_free(&b);
    assert_true(store_commit(store, &why));
}

static void remove_takes_the_first_of_a_prefix(void **state)
{
    (void)state;
    put("cut1", "a");
    put("cut2", "b");
    put("cut3", "c");
    put("cuu", "d");
    assert_int_equal(removes("cut", 2), 2);
    holds("cu", "", "cut3=c cuu=d ");
    assert_int_equal(removes("cut", 2), 1);
    assert_int_equal(removes("cut", 2), 0);
    assert_int_equal(removes("cuu", SIZE_MAX), 1);
    holds("cu", "", "");
    assert_true(store_commit(store, &why));
}

/* A key of 0xff has no successor of its own length. */
static void remove_of_the_highest_keys(void **state)
{
    (void)state;
    put("\xff\xff", "a");
    put("\xff\xff\xff", "b");
    put("\xfe", "c");
    assert_int_equal(removes("\xff\xff", 9), 2);
    holds("\xfe", "", "\xfe=c ");
    holds("\xff", "", "");
    assert_int_equal(removes("\xfe", 9), 1);
    assert_true(store_commit(store, &why));
}

static void only_what_was_committed_lasts(void **state)
{
    (void)state;
    put("last1", "a");
    put("last2", "b");
    assert_true(store_commit(store, &why));
    put("last3", "c");
    assert_int_equal(removes("last1", 1), 1);
    store_close(store);
    store = store_open(&store_sqlite, where, STORE_WRITE, &why);
    assert_non_null(store);
    holds("last", "", "last1=a last2=b ");
    assert_int_equal(removes("last1", 1), 1);
    assert_true(store_commit(store, &why));
    store_close(store);
    store = store_open(&store_sqlite, where, STORE_WRITE, &why);
    holds("last", "", "last2=b ");
}

static int forget(void **state)
{
    static const char *const names[] = { "ensignd.db", "ensignd.db-wal", "ensignd.db-shm", "lock" };
    char path[64];
    (void)state;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        remove(path);
    }
    return rmdir(folder);
}

#define BOTH(test) \
    cmocka_unit_test_prestate_setup_teardown(test, open_one, close_one, NULL), \
    { "in a folder: " #test, test, open_one, close_one, folder }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(what_was_put_is_there_in_order),
        BOTH(remove_takes_the_first_of_a_prefix),
        BOTH(remove_of_the_highest_keys),
        cmocka_unit_test_prestate_setup_teardown(only_what_was_committed_lasts, open_one, close_one, folder),
    };
    if (!mkdtemp(folder)) return 1;
    return cmocka_run_group_tests(tests, NULL, forget);
}
