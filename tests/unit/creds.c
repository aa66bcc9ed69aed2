/* creds.c - where the key comes from: the credentials file, the environment, which of them counts; and where
 * key and token may go: endpoints, plaintext */
#define _POSIX_C_SOURCE 200809L
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#include <errno.h>
#include <setjmp.h>
#include <sys/stat.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* The secret of all files here; no error may show it, and no buffer keep it. */
#define SECRET "s3cr3t-of-64-characters"
#define GOOD "{\"ClientID\":\"DbIxBEtIUgNIClnFMDmvoZeMrLxUTJVa\",\"ClientSecret\":\"" SECRET "\"}\n"
#define ID "DbIxBEtIUgNIClnFMDmvoZeMrLxUTJVa"

static char dir[200], path[220], other[220];

static void write_to(const char *at, const void *bytes, size_t len)
{
    FILE *f = fopen(at, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static void put(const char *text)
{
    write_to(path, text, strlen(text));
}

static void clear_environment(void)
{
    static const char *const names[] = { "ENSIGN_ENDPOINT", "ENSIGN_AUTH_URL", "ENSIGN_CLIENT_ID",
                                         "ENSIGN_CLIENT_SECRET", "ENSIGN_CA_FILE", "ENSIGN_INSECURE",
                                         "ENSIGN_NO_AUTHENTICATION" };
    for (size_t i = 0; i < COUNT(names); i++) unsetenv(names[i]);
}

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    clear_environment();
    (void)snprintf(dir, sizeof dir, "%.150s/ensign-creds-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(dir)) return -1;
    (void)snprintf(path, sizeof path, "%s/client.json", dir);
    (void)snprintf(other, sizeof other, "%s/other.json", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    clear_environment();
    (void)remove(path);
    (void)remove(other);
    return rmdir(dir);
}

static bool has(const char *buf, size_t n, const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i + len <= n; i++)
        if (memcmp(buf + i, text, len) == 0) return true;
    return false;
}

static bool is_wiped(const char *buf, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (buf[i] != 0) return false;
    return true;
}

static bool same_desc(const ensign_desc_t *a, const ensign_desc_t *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* ---- good files */

/* A file of this text gives this id and secret, in a buffer of twice its size and of no byte more. */
static void gives(const char *text, const char *id, const char *secret)
{
    size_t cap = 2 * strlen(text), used = strlen(id) + strlen(secret) + 2;
    char *buf = (char *)malloc(cap);
    ensign_desc_t d, want;
    ensign_error_t why;
    assert_non_null(buf);
    memset(buf, 0xAA, cap);
    memset(&d, 0, sizeof d);
    put(text);
    memset(&why, 0, sizeof why);
    if (ensign_desc_file(&d, path, buf, cap, &why) != ENSIGN_OK) fail_msg("%s: %s", text, why.text);
    assert_string_equal(d.client_id, id);
    assert_string_equal(d.client_secret, secret);
    assert_true(d.client_id >= buf && d.client_id + strlen(id) < buf + cap);
    assert_true(d.client_secret >= buf && d.client_secret + strlen(secret) < buf + cap);
    want = d;
    want.client_id = want.client_secret = NULL;
    memset(&d, 0, sizeof d);
    assert_true(same_desc(&want, &d)); /* nothing else is filled */
    for (size_t i = 0, zeros = 0; i < cap; i++) { /* and nothing else of the file is left */
        zeros += buf[i] == 0;
        if (i + 1 == cap) assert_true(zeros >= cap - used + 2);
    }
    free(buf);
}

static void a_file_of_the_service_gives_the_key(void **state)
{
    static const struct { const char *text, *id, *secret; } rows[] = {
        { GOOD, ID, SECRET },
        { "{\"ClientID\":\"i\",\"ClientSecret\":\"s\"}", "i", "s" },
        { " \t\r\n{\r\n  \"ClientSecret\" : \"s\" ,\r\n  \"ClientID\" : \"i\"\r\n}\r\n\r\n", "i", "s" },
        /* other members, of any kind, and the same names further in */
        { "{\"Name\":\"key of mine\",\"ClientID\":\"i\",\"Permissions\":[\"publisher\",{\"ClientID\":1}],"
          "\"n\":-1.5e3,\"ok\":true,\"none\":null,\"in\":{\"ClientSecret\":\"no\"},\"ClientSecret\":\"s\"}",
          "i", "s" },
        /* escapes in names and in values */
        { "{\"\\u0043lientID\":\"\\u0069\\u00e9\\/\\\\\\\"\","
          "\"Client\\u0053ecret\":\"\\uD83D\\uDE00\\u20AC\"}",
          "i\xC3\xA9/\\\"", "\xF0\x9F\x98\x80\xE2\x82\xAC" },
        { "{\"ClientID\":\"\xC3\xBC\",\"ClientSecret\":\"a b\"}", "\xC3\xBC", "a b" },
        { "{\"ClientID\":\"old\",\"ClientSecret\":\"s\",\"ClientID\":\"new\"}", "new", "s" },
        { "{\"clientid\":\"x\",\"CLIENTSECRET\":\"y\",\"ClientID\":\"i\",\"ClientSecret\":\"s\"}", "i", "s" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) gives(rows[i].text, rows[i].id, rows[i].secret);
}

static void a_key_from_a_file_makes_a_client(void **state)
{
    char buf[2 * sizeof GOOD];
    ensign_desc_t d;
    ensign_t *c;
    (void)state;
    memset(&d, 0, sizeof d);
    d.io = ENSIGN_IO_CALLER;
    d.seed = 1;
    put(GOOD);
    assert_int_equal(ensign_desc_file(&d, path, buf, sizeof buf, NULL), ENSIGN_OK);
    assert_int_equal(ensign_create(&d, &c, NULL), ENSIGN_OK);
    memset(buf, '!', sizeof buf); /* from now on it need not stand */
    assert_string_equal(c->auth.client_id, ID);
    assert_string_equal(c->auth.client_secret, SECRET);
    ensign_destroy(c);
}

/* ---- bad files */

/* The call fails with this code, tells these words and no secret, changes nothing and keeps nothing. */
static void fails(const char *at, size_t cap, int rc, const char *word, const char *second)
{
    char *buf = (char *)malloc(cap > 0 ? cap : 1);
    ensign_desc_t d, was;
    ensign_error_t why;
    int got;
    assert_non_null(buf);
    memset(buf, 0, cap > 0 ? cap : 1);
    memset(&d, 0, sizeof d);
    d.endpoint = "mine:1";
    was = d;
    memset(&why, 0x55, sizeof why);
    got = ensign_desc_file(&d, at, buf, cap, &why);
    if (got != rc || why.code != rc) fail_msg("%d, not %d", got, rc);
    if (!strstr(why.text, word) || !strstr(why.text, second) || strncmp(why.text, "credentials: ", 13) != 0)
        fail_msg("no \"%s\" and \"%s\" in: %s", word, second, why.text);
    assert_null(strstr(why.text, SECRET));
    assert_null(strstr(why.text, "270318281828")); /* nor one of digits */
    assert_true(same_desc(&d, &was));
    assert_true(is_wiped(buf, cap));
    assert_int_equal(ensign_desc_file(&d, at, buf, cap, NULL), rc);
    assert_true(is_wiped(buf, cap));
    free(buf);
}

static void what_is_no_object_is_said_so(void **state)
{
    static const char *const rows[] = {
        "", " \n", "[]", "null", "true", "1", "\"" SECRET "\"", SECRET, "{", "{\"ClientID\":\"i\"",
        "[" GOOD "]", GOOD "x", GOOD GOOD, "\xEF\xBB\xBF" GOOD, "ClientID=i\nClientSecret=" SECRET "\n",
        "{\"ClientID\":\"i\",\"ClientSecret\":\"" SECRET "\"", "{'ClientID':'i','ClientSecret':'" SECRET "'}",
        "{\"ClientID\":\"i\",\"ClientSecret\":\"" SECRET "\",}",
        "{\"ClientID\":\"i\",\"ClientSecret\":\"" SECRET "\xFF\"}",
        "{\"ClientID\":\"i\",\"ClientSecret\":\"" SECRET "\\x\"}",
        "{\"ClientID\":\"i\",\"ClientSecret\":\"" SECRET "\\uD800\"}",
        "{\"ClientID\":\"i\",\"ClientSecret\":\"" SECRET "\n\"}",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        put(rows[i]);
        fails(path, 2 * strlen(rows[i]) + 1, ENSIGN_E_FORMAT, "client.json", "no JSON object");
    }
    write_to(path, "{}\0", 3);
    fails(path, 100, ENSIGN_E_FORMAT, "client.json", "no JSON object");
}

/* For each member: what it may not be, and the word for it; the other one is good. */
static void a_member_that_will_not_do_is_named_with_what_it_is(void **state)
{
    static const struct { const char *value, *word; } rows[] = {
        { "true", "true" }, { "false", "false" }, { "270318281828", "a number" }, { "-1.5e3", "a number" },
        { "null", "null" }, { "\"\"", "empty" }, { "[\"" SECRET "\"]", "an array" }, { "[]", "an array" },
        { "{\"ClientSecret\":\"" SECRET "\"}", "an object" }, { "{}", "an object" },
        { "\"" SECRET "\\u0000\"", "NUL" }, { "\"\\u0000\"", "NUL" },
    };
    char text[256];
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        (void)snprintf(text, sizeof text, "{\"ClientID\":%s,\"ClientSecret\":\"" SECRET "\"}", rows[i].value);
        put(text);
        fails(path, 2 * strlen(text), ENSIGN_E_FORMAT, "\"ClientID\"", rows[i].word);
        (void)snprintf(text, sizeof text, "{\"ClientID\":\"i\",\"ClientSecret\":%s}", rows[i].value);
        put(text);
        fails(path, 2 * strlen(text), ENSIGN_E_FORMAT, "\"ClientSecret\"", rows[i].word);
        (void)snprintf(text, sizeof text, "{\"ClientSecret\":\"" SECRET "\",\"ClientID\":\"i\","
                       "\"ClientSecret\":%s}", rows[i].value); /* of two the last counts */
        put(text);
        fails(path, 2 * strlen(text), ENSIGN_E_FORMAT, "\"ClientSecret\"", rows[i].word);
    }
}

static void a_missing_member_is_named(void **state)
{
    static const struct { const char *text, *member; } rows[] = {
        { "{}", "\"ClientID\"" },
        { "{\"ClientSecret\":\"" SECRET "\"}", "\"ClientID\"" },
        { "{\"ClientID\":\"i\"}", "\"ClientSecret\"" },
        { "{\"ClientID\":\"i\",\"clientSecret\":\"" SECRET "\"}", "\"ClientSecret\"" },
        { "{\"client_id\":\"i\",\"client_secret\":\"" SECRET "\"}", "\"ClientID\"" },
        { "{\"ClientID \":\"i\",\"ClientSecret\":\"" SECRET "\"}", "\"ClientID\"" },
        { "{\"ClientID\":\"i\",\"in\":{\"ClientSecret\":\"" SECRET "\"}}", "\"ClientSecret\"" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        put(rows[i].text);
        fails(path, 2 * strlen(rows[i].text) + 1, ENSIGN_E_FORMAT, rows[i].member, "no member");
    }
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
    char nowhere[240], buf[16];
    ensign_error_t why;
    ensign_desc_t d;
    (void)state;
    (void)snprintf(nowhere, sizeof nowhere, "%s/not-there", dir);
    fails(nowhere, 100, ENSIGN_E_FILE, "not-there", strerror(ENOENT));
    fails(dir, 100, ENSIGN_E_FILE, "ensign-creds", strerror(EISDIR));
    fails("", 100, ENSIGN_E_FILE, strerror(ENOENT), "");
    memset(&d, 0, sizeof d);
    assert_int_equal(ensign_desc_file(&d, nowhere, buf, sizeof buf, &why), ENSIGN_E_FILE);
    assert_int_equal(why.native, ENOENT);
    assert_int_equal(ensign_desc_file(&d, dir, buf, sizeof buf, &why), ENSIGN_E_FILE);
    assert_int_equal(why.native, EISDIR);
}

static void arguments_that_lack_are_told(void **state)
{
    char buf[16];
    ensign_error_t why;
    ensign_desc_t d;
    (void)state;
    memset(&d, 0, sizeof d);
    assert_int_equal(ensign_desc_file(NULL, path, buf, sizeof buf, &why), ENSIGN_E_ARGUMENT);
    assert_int_equal(why.code, ENSIGN_E_ARGUMENT);
    assert_int_equal(ensign_desc_file(&d, NULL, buf, sizeof buf, NULL), ENSIGN_E_ARGUMENT);
    assert_int_equal(ensign_desc_file(&d, path, NULL, 0, NULL), ENSIGN_E_ARGUMENT);
    assert_null(d.client_id);
}

/* Every size from none on: it fits or it does not, from one size on for good, and twice the file's does. */
static void a_small_buffer_is_too_large_an_error_and_is_wiped(void **state)
{
    static const char *const rows[] = { GOOD, "{\"ClientID\":\"i\",\"ClientSecret\":\"" SECRET "\",\"x\":[]}",
        "{\"ClientSecret\":\"\\u0073" SECRET "\",\"ClientID\":\"\\u0069\"}" };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        size_t size = strlen(rows[i]), first = 0;
        put(rows[i]);
        for (size_t cap = 0; cap <= 2 * size; cap++) {
            char *buf = (char *)malloc(cap > 0 ? cap : 1);
            ensign_desc_t d;
            int rc;
            assert_non_null(buf);
            memset(&d, 0, sizeof d);
            rc = ensign_desc_file(&d, path, buf, cap, NULL);
            free(buf);
            if (rc == ENSIGN_OK && !first) first = cap;
            if (rc == ENSIGN_OK) continue;
            assert_int_equal(first, 0);
            fails(path, cap, ENSIGN_E_TOO_LARGE, "client.json", "give more");
        }
        assert_in_range(first, size + 1, 2 * size);
    }
}

/* ---- which source counts */

typedef enum {
    SET, SET_ID, SET_SECRET, TOKEN, /* by the program */
    ENV, ENV_ID, ENV_NO_AUTH,
    A_FILE, OTHER_FILE,
    NOTHING
} source_t;

static char room[2][256]; /* of the two files */

static void apply(ensign_desc_t *d, source_t s)
{
    int rc = ENSIGN_OK;
    clear_environment();
    if (s == ENV || s == ENV_ID || s == ENV_NO_AUTH) setenv("ENSIGN_CLIENT_ID", "env-id", 1);
    if (s == ENV || s == ENV_NO_AUTH) setenv("ENSIGN_CLIENT_SECRET", "env-secret", 1);
    if (s == ENV_NO_AUTH) setenv("ENSIGN_NO_AUTHENTICATION", "yes", 1);
    switch (s) {
    case SET: d->client_id = "my-id"; d->client_secret = "my-secret"; break;
    case SET_ID: d->client_id = "my-id"; break;
    case SET_SECRET: d->client_secret = "my-secret"; break;
    case TOKEN: d->token = "my-token"; break;
    case ENV:
    case ENV_ID:
    case ENV_NO_AUTH: rc = ensign_desc_env(d, NULL); break;
    case A_FILE: rc = ensign_desc_file(d, path, room[0], sizeof room[0], NULL); break;
    case OTHER_FILE: rc = ensign_desc_file(d, other, room[1], sizeof room[1], NULL); break;
    case NOTHING: break;
    }
    assert_int_equal(rc, ENSIGN_OK);
}

static bool is_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void the_first_source_counts(void **state)
{
    static const struct { source_t order[3]; const char *id, *secret, *token; } rows[] = {
        { { A_FILE, NOTHING, NOTHING }, "file-id", "file-secret", NULL },
        { { ENV, NOTHING, NOTHING }, "env-id", "env-secret", NULL },
        { { A_FILE, ENV, NOTHING }, "file-id", "file-secret", NULL },
        { { ENV, A_FILE, NOTHING }, "env-id", "env-secret", NULL },
        { { A_FILE, OTHER_FILE, ENV }, "file-id", "file-secret", NULL },
        { { OTHER_FILE, A_FILE, ENV }, "other-id", "other-secret", NULL },
        { { ENV, OTHER_FILE, A_FILE }, "env-id", "env-secret", NULL },
        { { SET, A_FILE, ENV }, "my-id", "my-secret", NULL },
        { { SET, ENV, A_FILE }, "my-id", "my-secret", NULL },
        { { TOKEN, A_FILE, ENV }, NULL, NULL, "my-token" },
        { { TOKEN, ENV, A_FILE }, NULL, NULL, "my-token" },
        /* a file fills both or none; the environment what is NULL */
        { { SET_ID, A_FILE, NOTHING }, "my-id", NULL, NULL },
        { { SET_SECRET, A_FILE, NOTHING }, NULL, "my-secret", NULL },
        { { SET_ID, ENV, A_FILE }, "my-id", "env-secret", NULL },
        { { SET_ID, A_FILE, ENV }, "my-id", "env-secret", NULL },
        { { SET_SECRET, ENV, A_FILE }, "env-id", "my-secret", NULL },
        { { ENV_ID, A_FILE, NOTHING }, "env-id", NULL, NULL },
        /* it leaves its own key out, and clears nobody's */
        { { ENV_NO_AUTH, NOTHING, NOTHING }, NULL, NULL, NULL },
        { { A_FILE, ENV_NO_AUTH, NOTHING }, "file-id", "file-secret", NULL },
        { { SET, ENV_NO_AUTH, NOTHING }, "my-id", "my-secret", NULL },
    };
    static const char first[] = "{\"ClientID\":\"file-id\",\"ClientSecret\":\"file-secret\"}";
    static const char second[] = "{\"ClientID\":\"other-id\",\"ClientSecret\":\"other-secret\"}";
    (void)state;
    write_to(path, first, sizeof first - 1);
    write_to(other, second, sizeof second - 1);
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensign_desc_t d;
        memset(&d, 0, sizeof d);
        for (size_t k = 0; k < COUNT(rows[i].order); k++) apply(&d, rows[i].order[k]);
        if (!is_text(d.client_id, rows[i].id) || !is_text(d.client_secret, rows[i].secret) ||
            !is_text(d.token, rows[i].token))
            fail_msg("row %zu: %s, %s, %s", i, d.client_id, d.client_secret, d.token);
    }
    clear_environment();
}

/* A key that is not taken is not kept either. */
static void a_file_that_is_not_needed_leaves_nothing(void **state)
{
    char buf[2 * sizeof GOOD];
    (void)state;
    put(GOOD);
    for (source_t s = SET; s <= TOKEN; s++) {
        ensign_desc_t d, was;
        memset(&d, 0, sizeof d);
        apply(&d, s);
        was = d;
        assert_int_equal(ensign_desc_file(&d, path, buf, sizeof buf, NULL), ENSIGN_OK);
        assert_true(same_desc(&d, &was));
        assert_false(has(buf, sizeof buf, SECRET));
    }
}

static void a_bad_file_is_told_though_it_is_not_needed(void **state)
{
    char buf[200];
    ensign_desc_t d, was;
    ensign_error_t why;
    (void)state;
    memset(&d, 0, sizeof d);
    apply(&d, SET);
    was = d;
    put("{}");
    assert_int_equal(ensign_desc_file(&d, path, buf, sizeof buf, &why), ENSIGN_E_FORMAT);
    assert_int_equal(ensign_desc_file(&d, dir, buf, sizeof buf, &why), ENSIGN_E_FILE);
    assert_true(same_desc(&d, &was));
}

/* ---- the booleans of the environment */

static void each_spelling_of_a_boolean_is_read(void **state)
{
    static const char *const yes[] = { "1", "y", "t", "yes", "true", "on" };
    static const char *const no[] = { "", "0", "n", "f", "no", "false", "off" };
    (void)state;
    for (size_t i = 0; i < COUNT(yes) + COUNT(no); i++) {
        const char *word = i < COUNT(yes) ? yes[i] : no[i - COUNT(yes)];
        for (unsigned how = 0; how < 3; how++) { /* as it is, in upper case, mixed */
            ensign_desc_t d;
            char text[8];
            size_t n = strlen(word);
            for (size_t k = 0; k <= n; k++)
                text[k] = (char)(word[k] >= 'a' && (how == 1 || (how == 2 && k % 2 == 0)) ? word[k] - 32
                                                                                         : word[k]);
            memset(&d, 0, sizeof d);
            setenv("ENSIGN_CLIENT_ID", "env-id", 1);
            setenv("ENSIGN_CLIENT_SECRET", "env-secret", 1);
            setenv("ENSIGN_INSECURE", text, 1);
            setenv("ENSIGN_NO_AUTHENTICATION", text, 1);
            assert_int_equal(ensign_desc_env(&d, NULL), ENSIGN_OK);
            assert_int_equal(d.tls.off, i < COUNT(yes));
            assert_int_equal(d.client_id == NULL, i < COUNT(yes));
            assert_int_equal(d.client_secret == NULL, i < COUNT(yes));
            assert_false(d.auth_tls.off); /* its URL says it */
        }
    }
    clear_environment();
}

static void what_is_no_boolean_fills_nothing(void **state)
{
    static const char *const names[] = { "ENSIGN_INSECURE", "ENSIGN_NO_AUTHENTICATION" };
    static const char *const bad[] = { "2", "00", "01", "-1", " ", " 1", "1 ", "ye", "yess", "tru", "truee",
                                       "ON!", "o", "nope", "null", "t rue", "\xC3\xBF", "falsefalse",
                                       "yes\n", "a value of more than eight characters" };
    (void)state;
    for (size_t n = 0; n < COUNT(names); n++) {
        for (size_t i = 0; i < COUNT(bad); i++) {
            ensign_desc_t d, was;
            ensign_error_t why;
            memset(&d, 0, sizeof d);
            d.name = "mine";
            was = d;
            clear_environment();
            setenv("ENSIGN_ENDPOINT", "a:1", 1);
            setenv("ENSIGN_CLIENT_ID", "env-id", 1);
            setenv("ENSIGN_CLIENT_SECRET", SECRET, 1);
            setenv(names[1 - n], "yes", 1); /* the other one is good */
            setenv(names[n], bad[i], 1);
            assert_int_equal(ensign_desc_env(&d, &why), ENSIGN_E_FORMAT);
            assert_int_equal(why.code, ENSIGN_E_FORMAT);
            assert_non_null(strstr(why.text, names[n]));
            assert_non_null(strstr(why.text, "0 n f no false off")); /* what is allowed */
            assert_null(strstr(why.text, SECRET));
            assert_true(same_desc(&d, &was));
            assert_int_equal(ensign_desc_env(&d, NULL), ENSIGN_E_FORMAT);
        }
    }
    clear_environment();
}

static void no_variable_clears_what_is_set(void **state)
{
    ensign_desc_t d;
    (void)state;
    memset(&d, 0, sizeof d);
    d.tls.off = true;
    setenv("ENSIGN_INSECURE", "no", 1);
    assert_int_equal(ensign_desc_env(&d, NULL), ENSIGN_OK);
    assert_true(d.tls.off);
    clear_environment();
}

/* ---- endpoints, and what goes over plaintext */

static ensign_desc_t desc(const char *endpoint)
{
    ensign_desc_t d;
    memset(&d, 0, sizeof d);
    d.endpoint = endpoint;
    d.io = ENSIGN_IO_CALLER;
    d.seed = 1;
    return d;
}

static void endpoints_of_both_families_are_taken(void **state)
{
    static const struct { const char *text, *host; uint16_t port; } rows[] = {
        { "ensign.rotational.app:443", "ensign.rotational.app", 443 }, { "localhost:1", "localhost", 1 },
        { "a-b_c.example:65535", "a-b_c.example", 65535 }, { "192.0.2.1:5356", "192.0.2.1", 5356 },
        { "[::1]:443", "::1", 443 }, { "[::]:1", "::", 1 },
        { "[2001:DB8:0:0:8:800:200C:417A]:443", "2001:DB8:0:0:8:800:200C:417A", 443 },
        { "[::ffff:192.0.2.1]:443", "::ffff:192.0.2.1", 443 },
        { "[fe80::1%eth0.5]:443", "fe80::1%eth0.5", 443 },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensign_desc_t d = desc(rows[i].text);
        ensign_error_t why;
        ensign_t *c;
        if (ensign_create(&d, &c, &why) != ENSIGN_OK) fail_msg("%s", why.text);
        assert_string_equal(c->rpc_target.endpoints[0].host.name, rows[i].host); /* without brackets */
        assert_int_equal(c->rpc_target.endpoints[0].host.port, rows[i].port);
        assert_string_equal(c->rpc_target.endpoints[0].text, rows[i].text); /* with them */
        ensign_destroy(c);
    }
}

static void refused(const ensign_desc_t *d, const char *word, const char *second)
{
    ensign_t *c = (ensign_t *)1;
    ensign_error_t why;
    memset(&why, 0, sizeof why);
    if (ensign_create(d, &c, &why) != ENSIGN_E_ARGUMENT) fail_msg("taken: %s, %s", d->endpoint, d->auth_url);
    assert_null(c);
    if (!strstr(why.text, word) || !strstr(why.text, second))
        fail_msg("no \"%s\" and \"%s\" in: %s", word, second, why.text);
}

/* The text has the endpoint as it was given, and what one is. */
static void a_bad_endpoint_is_shown_with_what_is_allowed(void **state)
{
    static const char *const rows[] = {
        "localhost", "localhost:", ":443", "localhost:0", "localhost:65536", "localhost:443x", "localhost:-1",
        "localhost:4 43", "localhost :443", "https://localhost:443", "localhost:443/",
        "localhost/x:443", "a:1:2", "::1:443", "[::1]", "[::1]:", "[::1]443",
        "[::1:443",
        "::1]:443", "[]:443", "[::1]]:443", "[[::1]]:443", "[localhost]:443", "[127.0.0.1]:443", "[:]:443",
        "[a:b]:443", "[g::1]:443", "[::1%]:443", "[%eth0]:443", "[::1%e h]:443", "[127.0.0.1:x]:443",
        "[::1 ]:443", "[::1]:65536", "[::1]:0", "h\xC3\xB6st:443",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensign_desc_t d = desc(rows[i]);
        char shown[64];
        (void)snprintf(shown, sizeof shown, "endpoint \"%s\"", rows[i]);
        refused(&d, shown, "host:port, port 1 to 65535");
    }
    {
        ensign_desc_t d = desc(NULL);
        refused(&d, "endpoint is missing", "host:port");
        d.endpoint = "";
        refused(&d, "endpoint \"\"", "host:port");
        d.endpoint = "user:password@localhost:443"; /* no error shows what stands before the '@' */
        refused(&d, "endpoint \"***@localhost:443\"", "host:port");
        d.endpoint = "https://user:p@ss@localhost:443";
        refused(&d, "endpoint \"https://***@localhost:443\"", "host:port");
        d.endpoint = "user@localhost:443://";
        refused(&d, "endpoint \"***@localhost:443://\"", "host:port");
    }
}

enum { WITH_TOKEN, WITH_KEY, WITH_NONE, KINDS };

static ensign_desc_t going_to(const char *endpoint, int kind)
{
    ensign_desc_t d = desc(endpoint);
    d.tls.off = true;
    if (kind == WITH_TOKEN) d.token = SECRET;
    if (kind == WITH_KEY) d.client_id = "id", d.client_secret = SECRET;
    return d;
}

static void taken(const ensign_desc_t *d)
{
    ensign_error_t why;
    ensign_t *c;
    if (ensign_create(d, &c, &why) != ENSIGN_OK) fail_msg("%s", why.text);
    ensign_destroy(c);
}

static void plaintext_is_for_this_machine(void **state)
{
    static const char *const here[] = { "localhost:1", "127.0.0.1:1", "127.255.255.255:1", "127.1.2.3:1",
                                        "[::1]:1" };
    static const char *const there[] = {
        "ensign.example:1", "127.example:1", "127.0.0.1.example:1", "localhost.example:1", "mylocalhost:1",
        "128.0.0.1:1", "126.255.255.255:1", "10.127.0.0:1", "0.0.0.0:1", "1.27.0.0:1", "127.1:1", "[::2]:1",
        "[::]:1", "[::1:1]:1", "[2001:db8::1]:1", "[::ffff:127.0.0.1]:1", "[127::1]:1", "[127.::1]:1",
        "[::1%eth0]:1",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(here); i++)
        for (int kind = 0; kind < KINDS; kind++) {
            ensign_desc_t d = going_to(here[i], kind);
            taken(&d);
        }
    for (size_t i = 0; i < COUNT(there); i++)
        for (int kind = 0; kind < KINDS; kind++) {
            ensign_desc_t d = going_to(there[i], kind);
            if (kind == WITH_NONE) taken(&d); /* nothing to lose */
            else refused(&d, "allow_plaintext_token", "plaintext");
            d.allow_plaintext_token = true;
            taken(&d);
            d.allow_plaintext_token = false;
            d.tls.off = false;
            taken(&d);
        }
}

/* The key goes to the auth service, by an URL that has rules of its own. */
static void a_key_over_http_is_for_this_machine(void **state)
{
    static const struct { const char *url; bool here; } rows[] = {
        { "http://localhost", true }, { "http://localhost:8088/", true }, { "http://127.0.0.1:8088", true },
        { "http://[::1]:8088", true }, { "http://auth.example", false }, { "http://10.0.0.1:80", false },
        { "http://[::2]", false }, { "http://127.example", false },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensign_desc_t d = desc("ensign.example:443");
        d.auth_url = rows[i].url;
        taken(&d); /* without a key: for ensign_auth_status */
        d.client_id = "id";
        d.client_secret = SECRET;
        if (rows[i].here) taken(&d);
        else refused(&d, "allow_plaintext_token", "plaintext");
        d.allow_plaintext_token = true;
        taken(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_of_the_service_gives_the_key),
        cmocka_unit_test(a_key_from_a_file_makes_a_client),
        cmocka_unit_test(what_is_no_object_is_said_so),
        cmocka_unit_test(a_member_that_will_not_do_is_named_with_what_it_is),
        cmocka_unit_test(a_missing_member_is_named),
        cmocka_unit_test(a_file_that_cannot_be_read_is_named),
        cmocka_unit_test(arguments_that_lack_are_told),
        cmocka_unit_test(a_small_buffer_is_too_large_an_error_and_is_wiped),
        cmocka_unit_test(the_first_source_counts),
        cmocka_unit_test(a_file_that_is_not_needed_leaves_nothing),
        cmocka_unit_test(a_bad_file_is_told_though_it_is_not_needed),
        cmocka_unit_test(each_spelling_of_a_boolean_is_read),
        cmocka_unit_test(what_is_no_boolean_fills_nothing),
        cmocka_unit_test(no_variable_clears_what_is_set),
        cmocka_unit_test(endpoints_of_both_families_are_taken),
        cmocka_unit_test(a_bad_endpoint_is_shown_with_what_is_allowed),
        cmocka_unit_test(plaintext_is_for_this_machine),
        cmocka_unit_test(a_key_over_http_is_for_this_machine),
    };
    return cmocka_run_group_tests_name("creds", tests, setup, teardown);
}
