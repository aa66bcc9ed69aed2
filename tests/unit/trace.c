/* trace.c - section trace: frames in any cut, names, requests of HTTP/1.1; and secrets, hidden in texts */
#include "plain.h"

/* ------------------------------------------------------------------ secrets in texts */
static size_t hide(char *text, size_t len, const char *secret)
{
    ensign_slice_t one = ensign_str(secret);
    return ensi_hide(text, len, &one, 1);
}

static void secrets_are_hidden(void **state)
{
    static const struct { const char *text, *want; } rows[] = {
        { "", "" },
        { "no secret here", "no secret here" },
        { "abcdefghijkl", "***" },
        { "it is abcdefghijkl.", "it is ***." },
        { "abcdefghijklabcdefghijkl", "******" },
        { "aabcdefghijkl", "a***" },                /* the first byte does not begin the secret */
        { "abcabcdefghijkl", "abc***" },
        { "cut: abcdefgh", "cut: ***" },            /* eight bytes are enough */
        { "cut: abcdefgh) and more", "cut: ***) and more" },
        { "not: abcdefg", "not: abcdefg" },         /* seven are not */
        { "ABCDEFGHIJKL", "ABCDEFGHIJKL" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[64];
        size_t len = strlen(rows[i].text), now;
        strcpy(text, rows[i].text);
        now = hide(text, len, "abcdefghijkl");
        assert_int_equal(now, strlen(rows[i].want));
        assert_memory_equal(text, rows[i].want, now);
        for (size_t at = now; at < len; at++) assert_int_equal(text[at], 0);    /* nothing is left behind it */
    }
    for (size_t i = 0; i < COUNT(rows); i++) {      /* a secret that is too short to be one */
        char text[64];
        strcpy(text, rows[i].text);
        assert_int_equal(hide(text, strlen(text), "abcdefg"), strlen(rows[i].text));
        assert_string_equal(text, rows[i].text);
    }
}

/* Those that begin alike, and one that begins with its own beginning: nothing of their ends is shown. */
static void secrets_that_begin_alike_are_hidden_whole(void **state)
{
    static const char *const secrets[] = { "eyJhbGciOiJ.access-part.sig1", "eyJhbGciOiJ.REFRESH-part.SIG2",
                                           "aaaaaaaaSECRETPART", "abcabcabcXYZSECRETPART" };
    static const struct { const char *text, *want; } rows[] = {
        { "bad eyJhbGciOiJ.REFRESH-part.SIG2!", "bad ***!" },
        { "bad eyJhbGciOiJ.access-part.sig1!", "bad ***!" },
        { "aaaaaaaaaSECRETPART", "***" },
        { "abcabcabcabcXYZSECRETPART.", "***." },
        { "eyJhbGciOiJ.REFRESH-part.SIG2aaaaaaaaSECRETPART", "******" },
    };
    ensign_slice_t list[COUNT(secrets)];
    (void)state;
    for (size_t turn = 0; turn < COUNT(secrets); turn++) { /* in whatever order */
        for (size_t i = 0; i < COUNT(secrets); i++) list[i] = ensign_str(secrets[(i + turn) % COUNT(secrets)]);
        for (size_t i = 0; i < COUNT(rows); i++) {
            char text[80];
            strcpy(text, rows[i].text);
            text[ensi_hide(text, strlen(text), list, COUNT(list))] = '\0';
            assert_string_equal(text, rows[i].want);
        }
    }
}

static void each_secret_of_a_client_is_hidden(void **state)
{
    ensi_env_t v;
    ensign_error_t e;
    (void)state;
    memset(&v, 0, sizeof v);
    v.secrets[ENSI_SECRET_KEY] = "first-secret";
    v.secrets[ENSI_SECRET_REFRESH] = "third-secret";
    memset(&e, 0, sizeof e);
    strcpy(e.text, "third-secret and first-secret, not second-secret");
    ensi_env_hide_error(&v, &e);
    assert_string_equal(e.text, "*** and ***, not second-secret");
    v.secrets[ENSI_SECRET_TOKEN] = "second-secret";
    ensi_env_hide_error(&v, &e);
    assert_string_equal(e.text, "*** and ***, not ***");
}

/* ------------------------------------------------------------------ names */
static void names_stand_in_a_row(void **state)
{
    ensi_names_t n;
    char long_name[ENSI_TRACE_NAMES];
    (void)state;
    ensi_names_clear(&n);
    ensi_names_add(&n, ensign_str(":path"));
    ensi_names_add(&n, ensign_str("a b\x01\xC3"));
    assert_string_equal(n.text, ":path a?b??");
    assert_false(n.cut);
    memset(long_name, 'x', sizeof long_name);
    ensi_names_add(&n, ensi_slice(long_name, ENSI_TRACE_NAMES - 12 - 1));   /* the last byte is the NUL's */
    assert_int_equal(strlen(n.text), ENSI_TRACE_NAMES - 1);
    assert_false(n.cut);
    ensi_names_add(&n, ensign_str("y"));
    assert_true(n.cut);
    ensi_names_clear(&n);
    assert_string_equal(n.text, "");
    assert_false(n.cut);
    ensi_names_add(&n, ensi_slice(long_name, ENSI_TRACE_NAMES));  /* it never fits; no later name is added */
    ensi_names_add(&n, ensign_str("y"));
    assert_string_equal(n.text, "");
    assert_true(n.cut);
}

/* ------------------------------------------------------------------ frames */
typedef struct { char text[4000]; unsigned count; } told_t;

static void on_trace(void *user, const ensign_frame_t *f)
{
    told_t *t = (told_t *)user;
    size_t at = strlen(t->text);
    t->count++;
    ensign_frame_text(f, t->text + at, sizeof t->text - at);
    strcat(t->text, "\n");
}

static void start(ensi_trace_t *t, ensi_env_t *v, told_t *told)
{
    memset(t, 0, sizeof *t);
    memset(v, 0, sizeof *v);
    memset(told, 0, sizeof *told);
    v->user = told;
    v->trace = on_trace;
    t->env = v;
    ensi_trace_clear(t);
}

static const uint8_t wire[] = {
    0, 0, 12, 4, 0, 0, 0, 0, 0,     0, 3, 0, 0, 0, 100,  0x12, 0x34, 0xFF, 0xFF, 0xFF, 0xFF,
    0, 0, 0, 4, 1, 0, 0, 0, 0,
    0, 0, 4, 8, 0, 0x80, 0, 0, 1,   0x80, 0, 1, 0,  /* the reserved bit is not part of the number */
    0, 0, 3, 0, 0x1, 0, 0, 0, 1,    'a', 'b', 'c',
    0, 0, 4, 3, 0, 0, 0, 0, 3,      0, 0, 0, 8,
    0, 0, 12, 7, 0, 0, 0, 0, 0,     0, 0, 0, 5, 0, 0, 0, 11, 'h', 'e', 'l', 'p',
    0, 0, 2, 0x77, 0xFF, 0, 0, 0, 9, 1, 2,                      /* of no known type */
};
static const char told_in[] =
    "< rpc SETTINGS stream=0 flags=0 length=12 MAX_CONCURRENT_STREAMS=100 0x1234=4294967295\n"
    "< rpc SETTINGS stream=0 flags=ACK length=0\n"
    "< rpc WINDOW_UPDATE stream=1 flags=0 length=4 increment=256\n"
    "< rpc DATA stream=1 flags=END_STREAM length=3\n"
    "< rpc RST_STREAM stream=3 flags=0 length=4 CANCEL\n"
    "< rpc GOAWAY stream=0 flags=0 length=12 ENHANCE_YOUR_CALM last_stream=5\n"
    "< rpc type-119 stream=9 flags=0xff length=2\n";

/* What comes in pieces of any size: the same is told, and no byte is counted to two frames. */
static void frames_are_told_in_any_cut(void **state)
{
    (void)state;
    for (size_t size = 1; size <= sizeof wire; size++) {
        ensi_trace_t t;
        ensi_env_t v;
        told_t told;
        start(&t, &v, &told);
        for (size_t at = 0; at < sizeof wire;) {
            size_t n = ensi_min(size, sizeof wire - at);
            while (n > 0) {
                bool whole;
                size_t piece = ensi_trace_come(&t, wire + at, n, &whole);
                assert_in_range(piece, 1, n);
                if (whole) ensi_trace_came(&t);
                at += piece;
                n -= piece;
            }
        }
        assert_string_equal(told.text, told_in);
        assert_int_equal(t.head_len, 0);
    }
}

/* Of a payload nothing is kept but what has numbers. */
static void no_payload_is_kept(void **state)
{
    ensi_trace_t t;
    ensi_env_t v;
    told_t told;
    (void)state;
    start(&t, &v, &told);
    for (size_t at = 0; at < sizeof wire;) {
        bool whole;
        at += ensi_trace_come(&t, wire + at, sizeof wire - at, &whole);
        for (size_t i = 0; i + 3 <= sizeof t.kept; i++) {
            assert_memory_not_equal(t.kept + i, "abc", 3);
            assert_memory_not_equal(t.kept + i, "hel", 3);
        }
        ensi_trace_came(&t);
    }
    assert_int_equal(told.count, 7);
}

/* Before its header is whole there is nothing to tell; a frame that ends a session is told short. */
static void a_frame_that_is_cut_is_told_short(void **state)
{
    ensi_trace_t t;
    ensi_env_t v;
    told_t told;
    bool whole;
    (void)state;
    start(&t, &v, &told);
    assert_int_equal(ensi_trace_come(&t, wire, 8, &whole), 8);
    assert_false(whole);
    ensi_trace_came(&t);
    assert_int_equal(told.count, 0);
    assert_int_equal(ensi_trace_come(&t, wire + 8, 7, &whole), 7);  /* the header's end, and one setting */
    assert_false(whole);
    ensi_trace_came(&t);
    assert_string_equal(told.text, "< rpc SETTINGS stream=0 flags=0 length=12 MAX_CONCURRENT_STREAMS=100\n");
}

static void frames_that_are_sent_are_told(void **state)
{
    ensi_trace_t t;
    ensi_env_t v;
    told_t told;
    char want[sizeof told_in];
    (void)state;
    start(&t, &v, &told);
    ensi_trace_sent(&t, (const uint8_t *)"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    assert_int_equal(told.count, 0);
    ensi_trace_sent(&t, wire, sizeof wire);
    strcpy(want, told_in);
    for (char *p = want; *p; p++)
        if (*p == '<') *p = '>';
    assert_string_equal(told.text, want);
}

/* ------------------------------------------------------------------ HTTP/1.1 */
static void a_request_is_told_by_its_names(void **state)
{
    static const struct { const char *text; size_t body; const char *want; } rows[] = {
        { "POST /v1/x HTTP/1.1\r\nHost: a:1\r\nUser-Agent: me: you\r\n\r\n{\"s\":\"secret\"}", 14,
          "> auth REQUEST length=14 POST /v1/x Host User-Agent\n" },
        { "GET / HTTP/1.1\r\n\r\n", 0, "> auth REQUEST length=0 GET /\n" },
        { "CONNECT a:443 HTTP/1.1\nHost: a\n\n", 0, "> auth REQUEST length=0 CONNECT a:443 Host\n" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensi_trace_t t;
        ensi_env_t v;
        told_t told;
        start(&t, &v, &told);
        t.link = ENSIGN_LINK_AUTH;
        ensi_trace_request(&t, ensign_str(rows[i].text), rows[i].body);
        assert_string_equal(told.text, rows[i].want);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(secrets_are_hidden),
        cmocka_unit_test(secrets_that_begin_alike_are_hidden_whole),
        cmocka_unit_test(each_secret_of_a_client_is_hidden),
        cmocka_unit_test(names_stand_in_a_row),
        cmocka_unit_test(frames_are_told_in_any_cut),
        cmocka_unit_test(no_payload_is_kept),
        cmocka_unit_test(a_frame_that_is_cut_is_told_short),
        cmocka_unit_test(frames_that_are_sent_are_told),
        cmocka_unit_test(a_request_is_told_by_its_names),
    };
    return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
