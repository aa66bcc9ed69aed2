/* ensignd_keys.c - the API keys and the tokens of servers that share a log */
#include "../../tools/ensignd/util.c"
#include "../../tools/ensignd/auth.h"
#include "../../tools/ensignd/log_now.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static log_t *events;
static why_t why;

static int open_log(void **state)
{
    (void)state;
    events = log_open(&log_late, "1", LOG_WRITE, 30000, &why);
    return events ? 0 : -1;
}

static int close_log(void **state)
{
    (void)state;
    log_close(events);
    return 0;
}

static void assert_same_key(const api_key_t *a, const api_key_t *b)
{
    assert_true(ulid_eq(&a->id, &b->id) && ulid_eq(&a->project, &b->project) && ulid_eq(&a->org, &b->org));
    assert_string_equal(a->client_id, b->client_id);
    assert_string_equal(a->client_secret, b->client_secret);
    assert_int_equal(a->permissions, b->permissions);
}

static void open_ring(keyring_t *r, bool made_expected)
{
    bool made;
    assert_true(keyring_from_log(r, events, &made, &why));
    assert_int_equal(made, made_expected);
    assert_int_equal(r->count, 3);
}

static ensign_slice_t record_key(const api_key_t *k, uint8_t out[20])
{
    memcpy(out, "key/", 4);
    memcpy(out + 4, k->id.b, sizeof k->id.b);
    return slice_of(out, 20);
}

/* The engine keeps a change back for a few turns. */
static void let_watches_hear(void)
{
    for (int i = 0; i < 100; i++) log_run(events);
}

static void what_is_there_is_not_made_again(void **state)
{
    ensign_slice_t value;
    uint64_t revision;
    (void)state;

    assert_true(log_make_now(events, slice_text("a"), slice_text("1"), &why));
    assert_true(log_make_now(events, slice_text("a"), slice_text("2"), &why));
    assert_true(log_get(events, slice_text("a"), &value, &revision));
    assert_true(slice_eq(value, slice_text("1")));
    assert_true(setting_make_now(events, "b", slice_text("1"), &value, &why));
    assert_true(setting_make_now(events, "b", slice_text("2"), &value, &why));
    assert_true(slice_eq(value, slice_text("1")));
}

static void each_server_has_the_same_first_keys(void **state)
{
    keyring_t a, b;
    (void)state;

    open_ring(&a, true);
    open_ring(&b, false);
    for (size_t i = 0; i < a.count; i++) assert_same_key(&a.keys[i], &b.keys[i]);
    assert_true(keyring_reader(&a) == &a.keys[1] && keyring_other(&a) == &a.keys[2]);
    assert_int_equal(a.keys[0].permissions, PERM_ALL);
    assert_int_equal(strlen(a.keys[0].client_id), 32);
    assert_int_equal(strlen(a.keys[0].client_secret), 64);
    keyring_free(&a);
    keyring_free(&b);
}

/* The first server was cut off when it had made a part of them; the second one makes the rest, as the first
   would have. */
static void a_start_that_was_cut_short_is_finished(void **state)
{
    keyring_t whole, rest;
    uint8_t key[20];
    (void)state;

    open_ring(&whole, true);
    assert_true(log_put_now(events, record_key(&whole.keys[2], key), slice_of(NULL, 0), &why));
    open_ring(&rest, false);
    for (size_t i = 0; i < whole.count; i++) assert_same_key(&whole.keys[i], &rest.keys[i]);
    keyring_free(&whole);
    keyring_free(&rest);
}

static void two_installations_have_nothing_in_common(void **state)
{
    keyring_t a, b;
    (void)state;

    open_ring(&a, true);
    log_close(events);
    assert_int_equal(open_log(NULL), 0);
    open_ring(&b, true);
    for (size_t i = 0; i < a.count; i++) {
        assert_string_not_equal(a.keys[i].client_id, b.keys[i].client_id);
        assert_string_not_equal(a.keys[i].client_secret, b.keys[i].client_secret);
        assert_false(ulid_eq(&a.keys[i].id, &b.keys[i].id));
    }
    keyring_free(&a);
    keyring_free(&b);
}

/* `text`: of the record; empty: it is removed. */
static void change(const api_key_t *k, const char *text)
{
    uint8_t key[20];
    assert_true(log_put_now(events, record_key(k, key), slice_text(text), &why));
    let_watches_hear();
}

static void a_key_of_another_server_is_known(void **state)
{
    static const char made[] = "{\"client_id\":\"other\",\"client_secret\":\"s\",\"permissions\":32,"
                               "\"project\":\"01HPROJECT0000000000000000\",\"org\":\"01HPROJECT0000000000000000\"}";
    static const char again[] = "{\"client_id\":\"other\",\"client_secret\":\"t\",\"permissions\":1,"
                                "\"project\":\"01HPROJECT0000000000000000\",\"org\":\"01HPROJECT0000000000000000\"}";
    keyring_t r;
    api_key_t k;
    (void)state;

    open_ring(&r, true);
    keyring_watch(&r, events);
    memset(&k, 0, sizeof k);
    k.id = ulid_new();
    change(&k, made);
    assert_int_equal(r.count, 4);
    assert_true(secret_matches(keyring_by_client(&r, "other"), "s"));
    change(&k, again);
    assert_int_equal(r.count, 4);
    assert_true(secret_matches(keyring_by_client(&r, "other"), "t"));
    assert_int_equal(keyring_by_id(&r, &k.id)->permissions, 1);
    change(&k, "no JSON");
    assert_int_equal(r.count, 4);
    change(&k, "");
    assert_int_equal(r.count, 3);
    assert_null(keyring_by_client(&r, "other"));
    change(&r.keys[0], "");
    assert_int_equal(r.count, 2);
    keyring_free(&r);
}

static auth_t *open_auth(const char *url)
{
    static const auth_lives_t lives = { 3600, 7200, -900 };
    auth_t *a = auth_open(events, url, &lives, &why);
    assert_non_null(a);
    return a;
}

static void each_server_takes_the_tokens_of_the_others(void **state)
{
    auth_t *a = open_auth("http://127.0.0.1:1"), *b = open_auth("http://127.0.0.1:2");
    char *keys_of_a = auth_key_set(a), *keys_of_b = auth_key_set(b);
    tokens_t tokens;
    claims_t claims;
    keyring_t r;
    (void)state;

    open_ring(&r, true);
    assert_string_equal(keys_of_a, keys_of_b);
    assert_true(auth_issue(a, &r.keys[0], &tokens));
    assert_true(auth_verify(b, slice_text(tokens.access), &claims));
    assert_false(claims.for_refresh);
    assert_true(ulid_eq(&claims.key, &r.keys[0].id) && ulid_eq(&claims.project, &r.keys[0].project));
    tokens.access[strlen(tokens.access) - 2] ^= 1;
    assert_false(auth_verify(b, slice_text(tokens.access), &claims));
    tokens_free(&tokens);
    free(keys_of_a);
    free(keys_of_b);
    auth_close(a);
    auth_close(b);
    keyring_free(&r);
}

static void a_refresh_token_counts_at_each_server(void **state)
{
    static const auth_lives_t at_once = { 3600, 7200, -3600 };
    auth_t *a = auth_open(events, "http://127.0.0.1:1", &at_once, &why), *b = open_auth("http://127.0.0.1:2");
    tokens_t tokens;
    claims_t claims;
    keyring_t r;
    (void)state;

    assert_non_null(a);
    open_ring(&r, true);
    assert_true(auth_issue(a, &r.keys[0], &tokens));
    assert_true(auth_verify(b, slice_text(tokens.refresh), &claims));
    assert_true(claims.for_refresh);
    tokens_free(&tokens);
    auth_close(a);
    auth_close(b);
    keyring_free(&r);
}

static void a_token_of_another_installation_is_refused(void **state)
{
    auth_t *a = open_auth("http://127.0.0.1:1"), *b;
    tokens_t tokens;
    claims_t claims;
    keyring_t r;
    (void)state;

    open_ring(&r, true);
    assert_true(auth_issue(a, &r.keys[0], &tokens));
    auth_close(a);
    log_close(events);
    assert_int_equal(open_log(NULL), 0);
    b = open_auth("http://127.0.0.1:1");
    assert_false(auth_verify(b, slice_text(tokens.access), &claims));
    tokens_free(&tokens);
    auth_close(b);
    keyring_free(&r);
}

static void a_damaged_signing_key_is_told(void **state)
{
    static const auth_lives_t lives = { 3600, 7200, -900 };
    (void)state;

    assert_true(setting_put_now(events, "signing-key", slice_text("short"), &why));
    assert_null(auth_open(events, "http://127.0.0.1:1", &lives, &why));
    assert_non_null(strstr(why.text, "no signing key"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_log, close_log)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_there_is_not_made_again),
        TEST(each_server_has_the_same_first_keys),
        TEST(a_start_that_was_cut_short_is_finished),
        TEST(two_installations_have_nothing_in_common),
        TEST(a_key_of_another_server_is_known),
        TEST(each_server_takes_the_tokens_of_the_others),
        TEST(a_refresh_token_counts_at_each_server),
        TEST(a_token_of_another_installation_is_refused),
        TEST(a_damaged_signing_key_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
