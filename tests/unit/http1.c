/* http1.c - section http1: answers of HTTP/1.1 in any cut, and the request */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { CAP = 64 }; /* bytes of body that the tests allow */

typedef struct {
    int rc, status;
    size_t used, body_len;
    char body[CAP + 1];
    const char *what;
} result_t;
typedef enum { WHOLE, BYTES, RANDOM } cut_t;

static uint32_t random_next(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Feeds the answer in pieces of memory of just their size; with `closed` the peer closes behind it. */
static result_t feed(const char *answer, size_t n, cut_t cut, uint32_t seed, bool closed)
{
    ensi_http1_t x;
    uint8_t *body = (uint8_t *)malloc(CAP);
    result_t r;
    size_t at = 0, used;

    assert_non_null(body);
    memset(&r, 0, sizeof r);
    r.rc = ENSIGN_AGAIN;
    ensi_http1_init(&x, body, CAP);
    while (at < n && r.rc == ENSIGN_AGAIN) {
        size_t take = cut == WHOLE ? n - at : cut == BYTES ? 1 : 1 + random_next(&seed) % 9;
        uint8_t *piece;
        if (take > n - at) take = n - at;
        piece = (uint8_t *)malloc(take);
        assert_non_null(piece);
        memcpy(piece, answer + at, take);
        r.rc = ensi_http1_eat(&x, piece, take, &used);
        free(piece);
        assert_true(used <= take);
        if (r.rc == ENSIGN_AGAIN) assert_int_equal(used, take);
        at += used;
    }
    if (closed && r.rc == ENSIGN_AGAIN) r.rc = ensi_http1_end(&x);
    r.used = at;
    r.what = x.what;
    r.body_len = x.body_len;
    assert_true(x.body_len <= CAP);
    memcpy(r.body, body, x.body_len);
    if (r.rc == ENSIGN_OK) {
        r.status = x.status;
        assert_null(x.what);
    }
    if (r.rc != ENSIGN_AGAIN) { /* final: nothing more is taken, the same is given */
        assert_int_equal(ensi_http1_eat(&x, (const uint8_t *)"HTTP", 4, &used), r.rc);
        assert_int_equal(used, 0);
        assert_int_equal(ensi_http1_end(&x), r.rc);
    }
    if (r.rc < 0) assert_non_null(r.what);
    free(body);
    return r;
}

static void assert_same(const result_t *a, const result_t *b)
{
    assert_int_equal(a->rc, b->rc);
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->used, b->used);
    assert_int_equal(a->body_len, b->body_len);
    assert_memory_equal(a->body, b->body, sizeof a->body);
    assert_ptr_equal(a->what, b->what);
}

/* Whole, in single bytes and in random pieces: one result. */
static result_t feed_all_ways(const char *answer, size_t n, bool closed)
{
    result_t whole = feed(answer, n, WHOLE, 0, closed), other = feed(answer, n, BYTES, 0, closed);

    assert_same(&whole, &other);
    for (uint32_t seed = 1; seed <= 20; seed++) {
        other = feed(answer, n, RANDOM, seed, closed);
        assert_same(&whole, &other);
    }
    return whole;
}

typedef struct { const char *answer; int status; const char *body, *rest; } good_t;

/* No row but those that say so needs the peer to close. */
static const good_t good[] = {
    { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", "" },
    { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 4", 200, "hello", "HTTP/1.1 4" },
    { "HTTP/1.1 403 Forbidden\r\ncontent-length:0\r\n\r\n", 403, "", "" },
    { "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, "", "" },
    { "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", 200, "", "" },
    { "HTTP/1.1 999 \xC3\xBC caf\xE9\r\nContent-Length: 0\r\n\r\n", 999, "", "" },
    { "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", 200, "hi", "" },
    { "HTTP/1.1 200 OK\r\nContent-Length: \t 2 \t\r\n\r\nhi", 200, "hi", "" },
    { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 02\r\n\r\nhi", 200, "hi", "" },
    { "HTTP/1.1 200 OK\r\nContent-Length: 2, 2 ,,2\r\n\r\nhi", 200, "hi", "" },
    { "HTTP/1.1 200 OK\r\nCONTENT-LENGTH: 2\r\nX-Empty:\r\nX!#$%&'*+-.^_`|~9: :: a\tb\r\n\r\nhi", 200,
      "hi", "" },
    { "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", 200, "hi", "" },
    { "HTTP/1.1 200 OK\r\nConnection: x, Close ,y\r\nContent-Length: 2\r\n\r\nhi", 200, "hi", "" },
    { "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", 200,
      "hi", "" },
    { "HTTP/1.1 200 OK\r\nConnection: closed, xclose\r\nContent-Length: 2\r\n\r\nhi", 200, "hi", "" },
    { "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, "hi", "" },
    { "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi", 200, "hi", "" },
    { "HTTP/1.9 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, "hi", "" },
    { "HTTP/1.1 204 No Content\r\nContent-Length: 500\r\n\r\n", 204, "", "" },
    { "HTTP/1.1 204 No Content\r\n\r\nHTTP", 204, "", "HTTP" },
    { "HTTP/1.1 304 Not Modified\r\nContent-Length: 99999999999999999999999\r\n\r\n", 304, "", "" },
    { "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n", 304, "",
      "" },
    { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, "hi", "" },
    { "HTTP/1.1 103 Early\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
      "HTTP/1.1 102\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, "hi", "" },
    { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", 200,
      "hello world", "" },
    { "HTTP/1.1 200 OK\r\ntransfer-encoding: , Chunked ,\r\n\r\n"
      "0000000000000000000000A\r\n0123456789\r\n000\r\n\r\nX", 200, "0123456789", "X" },
    { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
      "2;a=b;c=\"d e\"\r\nhi\r\n1 \t;x\r\n!\r\n0;last\r\nX-Sum: 5\r\nContent-Length: 7\r\n"
      "Connection: close\r\n\r\n", 200, "hi!", "" },
    { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\r\n\r\n0\r\n\r\n", 200, "\r\n", "" },
    { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\n", 200, "", "" },
    { "HTTP/1.1 200 OK\r\nContent-Length: 500\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 200,
      "hi", "" },
    { "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
      200, "hi", "" },
    { "HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n"
      "0123456789012345678901234567890123456789012345678901234567890123", 200,
      "0123456789012345678901234567890123456789012345678901234567890123", "" },
    { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n01234567890123456789012345678901\r\n"
      "20\r\n01234567890123456789012345678901\r\n0\r\n\r\n", 200,
      "0123456789012345678901234567890101234567890123456789012345678901", "" },
};

static void answers_are_read_whole_in_any_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        size_t n = strlen(good[i].answer), end = n - strlen(good[i].rest);
        result_t r = feed_all_ways(good[i].answer, n, false);
        if (r.rc != ENSIGN_OK)
            fail_msg("%s\ngave %d: %s", good[i].answer, r.rc, r.what ? r.what : "wants more");
        if (r.status != good[i].status || r.used != end || r.body_len != strlen(good[i].body) ||
            strcmp(r.body, good[i].body) != 0)
            fail_msg("%s\nstatus %d, %zu bytes used, body of %zu: %s", good[i].answer, r.status, r.used,
                     r.body_len, r.body);
    }
}

static void a_close_before_the_end_is_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        size_t end = strlen(good[i].answer) - strlen(good[i].rest);
        for (size_t cut = 0; cut < end; cut++) {
            result_t r = feed(good[i].answer, cut, WHOLE, 0, false);
            assert_int_equal(r.rc, ENSIGN_AGAIN);
            r = feed(good[i].answer, cut, WHOLE, 0, true);
            assert_int_equal(r.rc, ENSIGN_E_CLOSED);
            assert_string_equal(r.what, cut == 0 ? "the peer closed before an answer came"
                                                 : "the peer closed before the answer was whole");
        }
    }
}

static void a_body_without_length_ends_at_close(void **state)
{
    static const struct { const char *answer, *body; } rows[] = {
        { "HTTP/1.1 200 OK\r\n\r\n", "" },
        { "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\nhello\r\n", "hello\r\n" },
        { "HTTP/1.0 500 Oops\r\nConnection: keep-alive\r\n\r\nhello", "hello" },
        { "HTTP/1.1 200 OK\r\n\r\n0123456789012345678901234567890123456789012345678901234567890123",
          "0123456789012345678901234567890123456789012345678901234567890123" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        result_t r = feed_all_ways(rows[i].answer, strlen(rows[i].answer), false);
        assert_int_equal(r.rc, ENSIGN_AGAIN);
        r = feed_all_ways(rows[i].answer, strlen(rows[i].answer), true);
        assert_int_equal(r.rc, ENSIGN_OK);
        assert_string_equal(r.body, rows[i].body);
    }
}

/* Each ends in this error at its very last byte. */
static void what_the_rfc_forbids_is_refused_at_once(void **state)
{
    static const char *const rows[] = {
        "\r\n", "\n", "HTTP/2 200\r\n", "HTTP/2.0 200 OK\r\n", "HTTP/1.x 200 OK\r\n", "HTTP/1.10 200 OK\r\n",
        "http/1.1 200 OK\r\n", "HTTP/1.1\r\n",
        "HTTP/1.1 20\r\n", "HTTP/1.1 2000\r\n", "HTTP/1.1 2x0 OK\r\n", "HTTP/1.1 099 OK\r\n",
        "HTTP/1.1  200 OK\r\n", "HTTP/1.1 200\tOK\r\n",
        "HTTP/1.1\t200 OK\r\n", "ICY 200 OK here\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 -10 OK\r\n",
        "HTTP/1.1 200 OK\rX", "HTTP/1.1 200 O\x01", "HTTP/1.1 200 O\x7f", "\x15", "\x16",
        "HTTP/1.1 200 OK\r\n Folded: 1\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n\tc\r\n", "HTTP/1.1 200 OK\r\n \r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n", "HTTP/1.1 200 OK\r\n: empty\r\n", "HTTP/1.1 200 OK\r\nA : b\r\n",
        "HTTP/1.1 200 OK\r\nA\xC3\xBC: b\r\n",
        "HTTP/1.1 200 OK\r\nA(b): c\r\n", "HTTP/1.1 200 OK\r\nA: b\rc", "HTTP/1.1 200 OK\r\nA: b\r\r",
        "HTTP/1.1 200 OK\r\nA: \x0b",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n", "HTTP/1.1 200 OK\r\nContent-Length: ,\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5 5\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\nContent-Length: 6\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;q=1\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n;x\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n 2\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 3\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2g\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a\x01",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi!",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r0",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nno colon\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n c\r\n",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        size_t n = strlen(rows[i]);
        result_t r = feed_all_ways(rows[i], n, true);
        if (r.rc != ENSIGN_E_PROTOCOL || r.used != n)
            fail_msg("%s\ngave %d after %zu of %zu", rows[i], r.rc, r.used, n);
        r = feed_all_ways(rows[i], n - 1, false);
        if (r.rc != ENSIGN_AGAIN) fail_msg("%s\ngave %d one byte early", rows[i], r.rc);
    }
    {
        static const char nul[] = "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n";
        result_t r = feed_all_ways(nul, sizeof nul - 1, true);
        assert_int_equal(r.rc, ENSIGN_E_PROTOCOL);
    }
}

static void what_is_over_a_limit_is_too_large(void **state)
{
    static const char *const rows[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 65\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n41\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n40\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\nffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\n",
    };
    static const char until_close[] = "HTTP/1.1 200 OK\r\n\r\n"
                                      "01234567890123456789012345678901234567890123456789012345678901234";
    result_t r;
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        r = feed_all_ways(rows[i], strlen(rows[i]), true);
        if (r.rc != ENSIGN_E_TOO_LARGE || r.used != strlen(rows[i]))
            fail_msg("%s\ngave %d after %zu", rows[i], r.rc, r.used);
    }
    r = feed_all_ways(until_close, strlen(until_close), true);
    assert_int_equal(r.rc, ENSIGN_E_TOO_LARGE);
    assert_int_equal(r.body_len, CAP);
}

/* head, `n` times `unit`, tail. */
static size_t build(char *out, const char *head, const char *unit, size_t n, const char *tail)
{
    size_t at = strlen(head), m = strlen(unit);
    memcpy(out, head, at);
    for (size_t i = 0; i < n; i++, at += m) memcpy(out + at, unit, m);
    memcpy(out + at, tail, strlen(tail));
    return at + strlen(tail);
}

static char big[ENSI_HTTP1_HEAD_MAX + 4096];

static void lines_and_heads_are_bounded(void **state)
{
#define OK_HEAD "HTTP/1.1 200 OK\r\n"
#define CHUNKED OK_HEAD "Transfer-Encoding: chunked\r\n\r\n"
#define NO_BODY "Content-Length: 0\r\n\r\n"
    enum { FILL = ENSI_HTTP1_HEAD_MAX - 17 - 3 - 2 - 21 }; /* a header line of so many makes the head full */
    static const struct { const char *what, *head, *unit; size_t n; const char *tail; bool fits; } rows[] = {
        { "a head of 16 KiB", OK_HEAD "A: ", "x", FILL, "\r\n" NO_BODY, true },
        { "a head of 16 KiB and 1", OK_HEAD "A: ", "x", FILL + 1, "\r\n" NO_BODY, false },
        { "interim answers without end", "", "HTTP/1.1 100\n\n", 1 + ENSI_HTTP1_HEAD_MAX / 14, "", false },
        { "trailers, which count", CHUNKED "0\r\n", "A:\r\n", 1 + ENSI_HTTP1_HEAD_MAX / 4, "\r\n", false },
        { "a name of 255", OK_HEAD, "N", 255, ": v\r\n" NO_BODY, true },
        { "a name of 256", OK_HEAD, "N", 256, ": v\r\n" NO_BODY, false },
        { "a length in 240 digits", OK_HEAD "Content-Length: ", "0", 256 - 16, "\r\n\r\n", true },
        { "a length in 241 digits", OK_HEAD "Content-Length: ", "0", 257 - 16, "\r\n\r\n", false },
        { "a chunk's extension of 254", CHUNKED "0;", "e", 254, "\r\n\r\n", true },
        { "a chunk's extension of 255", CHUNKED "0;", "e", 255, "\r\n\r\n", false },
        { "a reason, which is nothing to us", "HTTP/1.1 200 ", "r", 1000, "\r\n" NO_BODY, true },
    };
    (void)state;
    assert_int_equal(build(big, rows[0].head, rows[0].unit, FILL, rows[0].tail), ENSI_HTTP1_HEAD_MAX);
    for (size_t i = 0; i < COUNT(rows); i++) {
        size_t n = build(big, rows[i].head, rows[i].unit, rows[i].n, rows[i].tail);
        int rc = feed_all_ways(big, n, false).rc;
        if (rc != (rows[i].fits ? ENSIGN_OK : ENSIGN_E_TOO_LARGE)) fail_msg("%s: %d", rows[i].what, rc);
    }
}

static void small_chunks_do_not_use_up_the_head(void **state)
{
    static uint8_t body[8192];
    ensi_http1_t x;
    size_t n = build(big, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "", 0, ""), used, at = 0;
    (void)state;
    ensi_http1_init(&x, body, sizeof body);
    assert_int_equal(ensi_http1_eat(&x, (const uint8_t *)big, n, &used), ENSIGN_AGAIN);
    for (; at < sizeof body; at++)
        assert_int_equal(ensi_http1_eat(&x, (const uint8_t *)"1\r\nx\r\n", 6, &used), ENSIGN_AGAIN);
    assert_int_equal(ensi_http1_eat(&x, (const uint8_t *)"0\r\n\r\n", 5, &used), ENSIGN_OK);
    assert_int_equal(x.body_len, sizeof body);
}

static void no_body_needs_no_memory(void **state)
{
    static const char empty[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        full[] = "HTTP/1.1 200 OK\r\n\r\nx";
    ensi_http1_t x;
    size_t used;
    (void)state;
    ensi_http1_init(&x, NULL, 0);
    assert_int_equal(ensi_http1_eat(&x, NULL, 0, &used), ENSIGN_AGAIN);
    assert_int_equal(ensi_http1_eat(&x, (const uint8_t *)empty, strlen(empty), &used), ENSIGN_OK);
    ensi_http1_init(&x, NULL, 0);
    assert_int_equal(ensi_http1_eat(&x, (const uint8_t *)full, strlen(full), &used), ENSIGN_E_TOO_LARGE);
    assert_int_equal(used, strlen(full) - 1);
}

/* Every state with every input: the table's rows move, all others are an error, which is final. */
static void moves_are_those_of_the_table(void **state)
{
    (void)state;
    for (int from = 0; from < ENSI_HTTP1_STATES; from++) {
        for (int in = 0; in < ENSI_HTTP1_INS; in++) {
            ensi_http1_t x;
            size_t used;
            int to = -1;
            for (size_t i = 0; i < COUNT(ensi_http1_moves); i++)
                if (ensi_http1_moves[i].from == from && ensi_http1_moves[i].in == in)
                    to = ensi_http1_moves[i].to;
            ensi_http1_init(&x, NULL, 0);
            x.state = (ensi_http1_state_t)from;
            assert_int_equal(ensi_http1_move(&x, (ensi_http1_in_t)in), to >= 0 ? ENSIGN_OK : ENSIGN_E_STATE);
            assert_int_equal(x.state, to >= 0 ? to : from);
            assert_int_equal(x.rc, to >= 0 ? ENSIGN_OK : ENSIGN_E_STATE);
            if (to >= 0) continue;
            assert_non_null(x.what);
            assert_int_equal(ensi_http1_eat(&x, (const uint8_t *)"HTTP", 4, &used), ENSIGN_E_STATE);
            assert_int_equal(used, 0);
            assert_int_equal(ensi_http1_end(&x), ENSIGN_E_STATE);
        }
    }
}

/* No input has two outcomes in one state, DONE has none, and every state is reached. */
static void the_table_is_one_machine(void **state)
{
    bool reached[ENSI_HTTP1_STATES] = { true }; /* STATUS, where it begins */
    (void)state;
    for (size_t i = 0; i < COUNT(ensi_http1_moves); i++) {
        assert_int_not_equal(ensi_http1_moves[i].from, ENSI_HTTP1_DONE);
        reached[ensi_http1_moves[i].to] = true;
        for (size_t j = 0; j < i; j++)
            assert_false(ensi_http1_moves[i].from == ensi_http1_moves[j].from &&
                         ensi_http1_moves[i].in == ensi_http1_moves[j].in);
    }
    for (size_t i = 0; i < COUNT(reached); i++) assert_true(reached[i]);
}

/* ---- request */

static void expect_request(const char *want, const char *method, const char *path, const char *agent,
    const char *body)
{
    size_t n = strlen(want), len = 99;
    char *out = (char *)malloc(n);
    assert_non_null(out);
    for (size_t cap = 0; cap < n; cap++)
        assert_int_equal(ensi_http1_request(out, cap, &len, method, path, "h:1", agent, body, body
            ? strlen(body) : 0), ENSIGN_E_TOO_LARGE);
    assert_int_equal(len, 99);
    assert_int_equal(ensi_http1_request(out, n, &len, method, path, "h:1", agent, body, body ? strlen(body)
        : 0), ENSIGN_OK);
    assert_int_equal(len, n);
    assert_memory_equal(out, want, n);
    free(out);
}

static void requests_are_written_whole_or_not_at_all(void **state)
{
    (void)state;
    expect_request("GET /v1/status HTTP/1.1\r\nHost: h:1\r\nUser-Agent: ensign.h/0 (x)\r\n"
                   "Connection: close\r\n\r\n",
                   "GET", "/v1/status", "ensign.h/0 (x)", NULL);
    expect_request("POST /v1/authenticate HTTP/1.1\r\nHost: h:1\r\n"
                   "Accept: application/json\r\nContent-Type: application/json\r\n"
                   "Content-Length: 12\r\nConnection: close\r\n\r\n{\"a\":\"bcde\"}", "POST",
                   "/v1/authenticate", NULL, "{\"a\":\"bcde\"}");
    expect_request("POST / HTTP/1.1\r\nHost: h:1\r\n"
                   "Accept: application/json\r\nContent-Type: application/json\r\n"
                   "Content-Length: 0\r\nConnection: close\r\n\r\n", "POST", "/", NULL, "");
}

static void no_argument_begins_a_line_of_its_own(void **state)
{
    static const struct { const char *method, *path, *host, *agent; } rows[] = {
        { "GE T", "/", "h", "a" }, { "", "/", "h", "a" }, { "GET\r\n", "/", "h", "a" },
        { "GET", "", "h", "a" }, { "GET", "x", "h", "a" },
        { "GET", "/a b", "h", "a" }, { "GET", "/\r\nX: y", "h", "a" }, { "GET", "/", "", "a" },
        { "GET", "/", "h\n", "a" },
        { "GET", "/", "h g", "a" }, { "GET", "/", "h", "a\r\nX: y" }, { "GET", "/", "h", "\x7f" },
        { "GET", "/\t", "h", "a" },
    };
    char out[256];
    size_t len = 99;
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_int_equal(ensi_http1_request(out, sizeof out, &len, rows[i].method, rows[i].path, rows[i].host,
            rows[i].agent, NULL, 0),
                         ENSIGN_E_ARGUMENT);
    assert_int_equal(len, 99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_read_whole_in_any_cut),
        cmocka_unit_test(a_close_before_the_end_is_told),
        cmocka_unit_test(a_body_without_length_ends_at_close),
        cmocka_unit_test(what_the_rfc_forbids_is_refused_at_once),
        cmocka_unit_test(what_is_over_a_limit_is_too_large),
        cmocka_unit_test(lines_and_heads_are_bounded),
        cmocka_unit_test(small_chunks_do_not_use_up_the_head),
        cmocka_unit_test(no_body_needs_no_memory),
        cmocka_unit_test(moves_are_those_of_the_table),
        cmocka_unit_test(the_table_is_one_machine),
        cmocka_unit_test(requests_are_written_whole_or_not_at_all),
        cmocka_unit_test(no_argument_begins_a_line_of_its_own),
    };
    return cmocka_run_group_tests_name("http1", tests, NULL, NULL);
}
