/* gzip.c - section gzip: what is compressed reads back, what is broken is told, and memory is bounded */
#define ENSIGN_GZIP
#include "plain.h"
#undef UNUSED
#include "../bytes.h"
#include "../gzip.h"

enum { MOST = 1 << 20, FIRST = 1024 };

/* ---- memory that counts, and can fail */

static struct { size_t live, peak; unsigned taken, fail_at; } heap;
static ensi_mem_t mem;
static ensi_gzip_t gzip;
static ensi_buf_t plain;

static void *heap_alloc(void *user, void *old, size_t size)
{
    size_t *p = old ? (size_t *)old - 2 : NULL;
    (void)user;
    if (size == 0) {
        if (p) heap.live -= *p;
        free(p);
        return NULL;
    }
    if (++heap.taken == heap.fail_at) return NULL;
    heap.live += size - (p ? *p : 0);
    p = (size_t *)realloc(p, size + 2 * sizeof *p);
    if (!p) abort();
    *p = size;
    if (heap.live > heap.peak) heap.peak = heap.live;
    return p + 2;
}

static void begin(void)
{
    memset(&heap, 0, sizeof heap);
    memset(&mem, 0, sizeof mem);
    memset(&gzip, 0, sizeof gzip);
    memset(&plain, 0, sizeof plain);
    mem.alloc = heap_alloc;
}

static void end(void)
{
    ensi_gzip_close(&gzip);
    ensi_mem_free(&mem, plain.ptr);
    ensi_mem_close(&mem);
    assert_int_equal(heap.live, 0);
    assert_int_equal(mem.used, 0);
}

/* In memory of just its size, so that a read behind it is seen. */
static int read_back(const void *p, size_t n, size_t limit, const char **why)
{
    uint8_t *copy = (uint8_t *)malloc(n + !n);
    int rc;
    assert_non_null(copy);
    if (n) memcpy(copy, p, n);
    *why = "";
    rc = ensi_gzip_decompress(&gzip, &mem, ensi_slice(copy, n), &plain, FIRST, limit, why);
    free(copy);
    return rc;
}

static void wants(const void *p, size_t n, const void *plain_bytes, size_t len)
{
    const char *why;
    int rc = read_back(p, n, MOST, &why);
    if (rc != ENSIGN_OK) fail_msg("%zu bytes: %d %s", n, rc, why);
    assert_int_equal(plain.end, len);
    if (len) assert_memory_equal(plain.ptr, plain_bytes, len);
}

static void refused(const void *p, size_t n, const char *words)
{
    const char *why;
    int rc = read_back(p, n, MOST, &why);
    if (rc != ENSIGN_E_FORMAT || !strstr(why, words))
        fail_msg("%zu bytes: %d '%s', not '%s'", n, rc, why, words);
}

/* Bytes of three kinds: one that repeats, one like text, one that nothing makes smaller. */
static void fill(uint8_t *p, size_t n, int kind)
{
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        p[i] = kind == 0 ? 0 : (uint8_t)(x >> 32);
        if (kind == 1) p[i] = (uint8_t)"the quick brown fox "[p[i] % 20];
    }
}

/* ---- compress */

static void what_is_compressed_is_smaller_and_reads_back(void **state)
{
    static const size_t sizes[] = { 0, 1, 2, 17, 18, 19, 20, 25, 60, 100, 1000, 4096, 65536, 100000, 300000 };
    static uint8_t in[300000], out[300000];
    (void)state;
    begin();
    assert_true(ensi_gzip_open(&gzip, &mem));
    assert_true(ensi_gzip_open(&gzip, &mem)); /* once is enough */
    for (size_t i = 0; i < 3 * COUNT(sizes); i++) {
        size_t n = sizes[i / 3], len;
        int kind = (int)(i % 3);
        uint8_t *own = (uint8_t *)malloc(n + !n);
        assert_non_null(own);
        fill(in, n, kind);
        memset(out, 0xEE, sizeof out);
        len = ensi_gzip_compress(&gzip, ensi_slice(in, n), out);
        memcpy(own, in, n);
        for (size_t k = n; k < sizeof out; k++) assert_int_equal(out[k], 0xEE); /* no more than as it was */
        if (len > 0) wants(out, len, own, n);
        assert_true(len < n || len == 0);
        if (kind == 2 || n < 20) assert_int_equal(len, 0);
        if (kind < 2 && n >= 100) assert_in_range(len, 1, n - 1);
        free(own);
    }
    assert_true(heap.peak - plain.cap - ENSI_MEM_HEADER <= ENSI_GZIP_BYTES);
    end();
}

/* The other way about: zlib reads it. */
static void zlib_reads_it(void **state)
{
    static uint8_t in[50000], out[50000];
    bytes_t back = { 0 };
    size_t len;
    (void)state;
    begin();
    assert_true(ensi_gzip_open(&gzip, &mem));
    for (int i = 0; i < 3; i++) { /* the state is used again */
        fill(in, sizeof in, 1);
        in[0] = (uint8_t)i;
        len = ensi_gzip_compress(&gzip, ensi_slice(in, sizeof in), out);
        back.len = 0;
        assert_true(gzip_read(&back, out, len, sizeof in));
        assert_int_equal(back.len, sizeof in);
        assert_memory_equal(back.p, in, sizeof in);
    }
    bytes_free(&back);
    end();
}

/* ---- decompress */

/* Written by hand: a header with each optional field (RFC 1952), one block that is stored, CRC, length. */
static const uint8_t by_hand[] = {
    0x1F, 0x8B, 8, 0x1C, 1, 2, 3, 4, 0, 3,  4, 0, 'e', 'x', 't', 'r',  'n', 'a', 'm', 'e', 0,
    'c', 'o', 'm', 0,  1, 5, 0, 0xFA, 0xFF, 'h', 'e', 'l', 'l', 'o',  0x86, 0xA6, 0x10, 0x36,  5, 0, 0, 0
};

static void gzip_of_others_is_read(void **state)
{
    (void)state;
    begin();
    wants(by_hand, sizeof by_hand, "hello", 5);
    end();
}

static void several_members_are_one_message(void **state)
{
    bytes_t b = { 0 };
    (void)state;
    begin();
    gzip_add(&b, "one, ", 5);
    gzip_add(&b, "", 0);
    bytes_add(&b, by_hand, sizeof by_hand);
    gzip_add(&b, "three", 5);
    wants(b.p, b.len, "one, hellothree", 15);
    b.p[b.len - 6] ^= 1; /* in the CRC of the last one */
    refused(b.p, b.len, "incorrect data check");
    bytes_free(&b);
    end();
}

static void an_empty_message_may_be_compressed(void **state)
{
    bytes_t b = { 0 };
    (void)state;
    begin();
    gzip_add(&b, "", 0);
    wants(b.p, b.len, "", 0);
    refused("", 0, "cut short");
    bytes_free(&b);
    end();
}

/* At each byte. */
static void a_cut_message_is_refused(void **state)
{
    static uint8_t in[3000];
    bytes_t b = { 0 };
    (void)state;
    begin();
    fill(in, sizeof in, 1);
    gzip_add(&b, in, sizeof in);
    for (size_t n = 0; n < b.len; n++) refused(b.p, n, "cut short");
    wants(b.p, b.len, in, sizeof in); /* none of them has left anything */
    for (size_t n = 0; n < sizeof by_hand; n++) refused(by_hand, n, "cut short");
    bytes_free(&b);
    end();
}

static void bytes_behind_the_end_are_refused(void **state)
{
    bytes_t b = { 0 };
    (void)state;
    begin();
    gzip_add(&b, "text", 4);
    for (int byte = 0; byte < 256; byte++) {
        uint8_t x = (uint8_t)byte;
        bytes_add(&b, &x, 1);
        refused(b.p, b.len, byte == ENSI_GZIP_MEMBER ? "cut short" : "bytes behind its end");
        bytes_add(&b, "more", 4);
        refused(b.p, b.len, byte == ENSI_GZIP_MEMBER ? "incorrect header check" : "bytes behind its end");
        b.len -= 5;
    }
    bytes_free(&b);
    end();
}

/* Each bit of the checksum and of the length. */
static void a_wrong_check_is_refused(void **state)
{
    uint8_t copy[sizeof by_hand];
    (void)state;
    begin();
    for (size_t bit = 0; bit < 64; bit++) {
        memcpy(copy, by_hand, sizeof copy);
        copy[sizeof copy - 8 + bit / 8] ^= (uint8_t)(1 << bit % 8);
        refused(copy, sizeof copy, bit < 32 ? "incorrect data check" : "incorrect length check");
    }
    end();
}

static void what_is_no_gzip_is_refused(void **state)
{
    static const uint8_t by_zlib[] = { 0x78, 0x9C, 0xCB, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x06, 0x2C, 0x02,
                                       0x15 };
    uint8_t copy[sizeof by_hand];
    (void)state;
    begin();
    refused("plain text", 10, "incorrect header check");
    refused(by_zlib, sizeof by_zlib, "incorrect header check"); /* gRPC's "deflate" */
    memcpy(copy, by_hand, sizeof copy);
    copy[2] = 7;
    refused(copy, sizeof copy, "unknown compression method");
    copy[2] = 8;
    copy[3] |= 0x80;
    refused(copy, sizeof copy, "unknown header flags set");
    copy[3] = by_hand[3];
    copy[25] = 7;
    refused(copy, sizeof copy, "invalid block type");
    end();
}

/* ---- limits */

static void a_message_may_be_as_large_as_the_limit(void **state)
{
    static const size_t limits[] = { 1, 2, 100, FIRST - 1, FIRST, FIRST + 1, 2 * FIRST, 70000, 131071 };
    static uint8_t in[140000];
    (void)state;
    for (size_t i = 0; i < 2 * COUNT(limits); i++) {
        size_t limit = limits[i / 2], n = limit + i % 2;
        bytes_t b = { 0 };
        const char *why;
        begin();
        fill(in, n, 1);
        gzip_add(&b, in, n);
        assert_int_equal(read_back(b.p, b.len, limit, &why), n > limit ? ENSIGN_E_TOO_LARGE : ENSIGN_OK);
        assert_true(plain.cap <= limit + 1);
        if (n <= limit) assert_memory_equal(plain.ptr, in, n);
        bytes_free(&b);
        end();
    }
}

/* A thousand times its size, and however large the length is that it claims. */
static void a_bomb_takes_no_more_than_the_limit(void **state)
{
    enum { SIZE = 64 << 20, LIMIT = 50000 };
    bytes_t b = { 0 };
    void *zeros = calloc(1, SIZE);
    const char *why;
    (void)state;
    assert_non_null(zeros);
    gzip_add(&b, zeros, SIZE);
    free(zeros);
    assert_true(b.len < 70000);
    for (int i = 0; i < 3; i++) {
        begin();
        if (i == 1) memset(b.p + b.len - 4, 0xFF, 4);
        if (i == 2) memset(b.p + b.len - 4, 0, 4);
        assert_int_equal(read_back(b.p, b.len, LIMIT, &why), ENSIGN_E_TOO_LARGE);
        assert_true(heap.peak <= ENSI_GZIP_BYTES + LIMIT + 1 + ENSI_MEM_HEADER);
        wants(by_hand, sizeof by_hand, "hello", 5); /* the next is as good as ever */
        end();
    }
    bytes_free(&b);
}

/* A small message takes one block, whatever length it claims, and the next one none. */
static void a_claimed_length_takes_no_memory(void **state)
{
    uint8_t copy[sizeof by_hand];
    unsigned taken;
    (void)state;
    begin();
    memcpy(copy, by_hand, sizeof copy);
    memset(copy + sizeof copy - 4, 0xFF, 4);
    refused(copy, sizeof copy, "incorrect length check");
    assert_int_equal(plain.cap, FIRST);
    taken = heap.taken;
    wants(by_hand, sizeof by_hand, "hello", 5);
    assert_int_equal(heap.taken, taken);
    end();
}

static void memory_that_is_not_there_is_told(void **state)
{
    static uint8_t in[20000];
    bytes_t b = { 0 };
    const char *why;
    bool opened = false, read = false;
    (void)state;
    fill(in, sizeof in, 1);
    gzip_add(&b, in, sizeof in);
    for (unsigned n = 1; !opened || !read; n++) {
        begin();
        heap.fail_at = n;
        opened = ensi_gzip_open(&gzip, &mem);
        if (!opened) assert_int_equal(heap.live, mem.small_count * (ENSI_MEM_SMALL + ENSI_MEM_HEADER));
        end();
        begin();
        heap.fail_at = n;
        read = read_back(b.p, b.len, MOST, &why) == ENSIGN_OK;
        heap.fail_at = 0;
        wants(b.p, b.len, in, sizeof in); /* the next attempt is as good as ever */
        end();
        assert_true(n < 100);
    }
    bytes_free(&b);
}

/* What the manual says of the bound is what the bound has. */
static void the_manual_s_figure_is_true(void **state)
{
    ensign_desc_t d = plain_desc();
    char line[300], want[80];
    bool found = false;
    FILE *f = fopen("ensign.h", "r");
    (void)state;
    assert_non_null(f);
    snprintf(want, sizeof want, "ENSIGN_GZIP adds %d KiB to ensign_memory_bound", ENSI_GZIP_BYTES / 1024);
    while (!found && fgets(line, sizeof line, f)) found = strstr(line, want) != NULL;
    fclose(f);
    if (!found) fail_msg("the manual should say: %s", want);
    assert_true(ensign_memory_bound(&d) > ENSI_GZIP_BYTES);
}

/* A count that would wrap is refused: where size_t has 32 bits, for with 64 none does. */
static void blocks_that_wrap_are_refused(void **state)
{
    (void)state;
    begin();
    if (sizeof(size_t) == 4) assert_null(ensi_gzip_take(&mem, 0x10001, 0x10000));
    ensi_gzip_free(&mem, ensi_gzip_take(&mem, 3, 5));
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_compressed_is_smaller_and_reads_back),
        cmocka_unit_test(zlib_reads_it),
        cmocka_unit_test(gzip_of_others_is_read),
        cmocka_unit_test(several_members_are_one_message),
        cmocka_unit_test(an_empty_message_may_be_compressed),
        cmocka_unit_test(a_cut_message_is_refused),
        cmocka_unit_test(bytes_behind_the_end_are_refused),
        cmocka_unit_test(a_wrong_check_is_refused),
        cmocka_unit_test(what_is_no_gzip_is_refused),
        cmocka_unit_test(a_message_may_be_as_large_as_the_limit),
        cmocka_unit_test(a_bomb_takes_no_more_than_the_limit),
        cmocka_unit_test(a_claimed_length_takes_no_memory),
        cmocka_unit_test(memory_that_is_not_there_is_told),
        cmocka_unit_test(the_manual_s_figure_is_true),
        cmocka_unit_test(blocks_that_wrap_are_refused),
    };
    return cmocka_run_group_tests_name("gzip", tests, NULL, NULL);
}
