/* h2.c - section h2: the receive buffer against a model of its peer and its reader, and credit as a real
 * HTTP/2 session keeps it */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <stdio.h>
#include <cmocka.h>
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"

/* ---- memory that counts, and fails on demand */

static struct { size_t blocks, calls; bool fail; } heap;

static void *heap_alloc(void *user, void *old, size_t size)
{
    (void)user;
    if (size == 0) {
        heap.blocks -= old != NULL;
        free(old);
        return NULL;
    }
    heap.calls++;
    if (heap.fail) return NULL;
    heap.blocks += old == NULL;
    return realloc(old, size);
}

static void heap_start(ensi_mem_t *m)
{
    memset(&heap, 0, sizeof heap);
    memset(m, 0, sizeof *m);
    m->alloc = heap_alloc;
}

static void heap_end(ensi_mem_t *m)
{
    ensi_mem_close(m);
    assert_int_equal(heap.blocks, 0);
    assert_int_equal(m->used, 0);
}

/* ---- the model: a peer that sends messages as far as its credit goes, a reader that is fast or slow */

enum { SPARE = 13, LIMIT = 5 * 1024 * 1024 };

typedef struct { size_t at, len; bool skip; } model_message_t;

typedef struct {
    ensi_mem_t mem;
    ensi_rx_t rx;
    uint64_t rng;
    uint8_t *wire;                  /* all messages, with their prefixes */
    size_t wire_len, wire_cap, sent, credit;
    model_message_t *messages;
    size_t count, read;
    bool lends;                     /* the reader keeps each message until it takes the next one */
    size_t parted;                  /* how often a second buffer was in use */
    size_t peak;
} model_t;

static size_t below(uint64_t *rng, size_t n)
{
    return (size_t)(ensi_rng_next(rng) % n);
}

static void model_open(model_t *m, uint64_t seed, size_t window, size_t limit)
{
    memset(m, 0, sizeof *m);
    heap_start(&m->mem);
    m->rng = seed;
    ensi_rx_open(&m->rx, window, limit + ENSI_GRPC_PREFIX, SPARE);
}

static void model_close(model_t *m)
{
    ensi_rx_free(&m->rx, &m->mem);
    free(m->wire);
    free(m->messages);
    heap_end(&m->mem);
}

static void model_add(model_t *m, size_t len)
{
    model_message_t *x;
    m->messages = (model_message_t *)realloc(m->messages, (m->count + 1) * sizeof *m->messages);
    if (m->wire_len + len + ENSI_GRPC_PREFIX > m->wire_cap) {
        m->wire_cap = 2 * m->wire_cap + len + 65536;
        m->wire = (uint8_t *)realloc(m->wire, m->wire_cap);
    }
    assert_non_null(m->messages);
    assert_non_null(m->wire);
    x = &m->messages[m->count++];
    x->at = m->wire_len;
    x->len = len + ENSI_GRPC_PREFIX;
    x->skip = x->len > m->rx.limit;
    m->wire[m->wire_len] = 0;
    ensi_put_be32(m->wire + m->wire_len + 1, (uint32_t)len);
    m->wire_len += ENSI_GRPC_PREFIX;
    for (size_t i = 0; i < len; i++) m->wire[m->wire_len++] = (uint8_t)(i * 31 + m->count);
}

static void model_check(const model_t *m)
{
    const ensi_rx_t *r = &m->rx;
    assert_true(r->start + r->lent <= r->end);
    assert_true(r->end + m->credit + r->spare <= r->cap);
    assert_true(r->cap <= (r->limit > r->window ? r->limit : r->window) + r->spare);
    if (r->ptr) assert_true(ensi_mem_size(r->ptr) >= r->cap);
}

/* What the bounds of handles count with: two blocks of any size, and a usual one. */
static size_t model_bound(const ensi_rx_t *r)
{
    size_t large = r->limit > r->window ? r->limit : r->window;
    return 2 * large + r->window + 3 * (r->spare + ENSI_MEM_HEADER);
}

/* What the pump does after each receive and each pull. */
static void model_grant(model_t *m)
{
    assert_true(ensi_rx_fit(&m->rx, &m->mem, m->credit));
    model_check(m);
    m->credit += ensi_rx_grant(&m->rx, m->credit);
    model_check(m);
    if (m->mem.used > m->peak) m->peak = m->mem.used;
    assert_true(m->mem.used <= model_bound(&m->rx));
}

/* A message that is too large is passed over, as a subscription does it. */
static bool model_skip(model_t *m)
{
    ensi_rx_t *r = &m->rx;
    size_t total, at = r->start + r->lent, have = r->end - at;
    ensi_rx_head(r, &total);
    if (have < ENSI_GRPC_PREFIX || total <= r->limit) return false;
    assert_true(m->messages[m->read].skip);
    if (have > total) have = total;
    memmove(r->ptr + at, r->ptr + at + have, r->end - at - have);
    r->end -= have;
    r->skip = total - have;
    m->read++;
    return true;
}

static bool model_send(model_t *m, size_t cut)
{
    size_t n = cut < m->credit ? cut : m->credit;
    if (n > m->wire_len - m->sent) n = m->wire_len - m->sent;
    if (n == 0) return false;
    m->credit -= n;
    assert_true(ensi_rx_store(&m->rx, &m->mem, m->wire + m->sent, n));
    m->sent += n;
    while (model_skip(m)) continue;
    model_grant(m);
    return true;
}

static bool model_pull(model_t *m, const uint8_t **lent, size_t *lent_len)
{
    ensi_rx_t *r = &m->rx;
    size_t total;
    const model_message_t *x;
    if (ensi_rx_head(r, &total) != ENSIGN_OK) return false;
    ensi_rx_release(r, &m->mem);
    ensi_rx_fit(r, &m->mem, m->credit);
    model_check(m);
    assert_int_equal(ensi_rx_head(r, &total), ENSIGN_OK);
    x = &m->messages[m->read++];
    assert_false(x->skip);
    assert_int_equal(total, x->len);
    assert_memory_equal(r->ptr + r->start, m->wire + x->at, total);
    *lent = r->ptr + r->start;
    *lent_len = total;
    r->lent = total;
    if (!m->lends) ensi_rx_release(r, &m->mem);
    while (model_skip(m)) continue;
    model_grant(m);
    return true;
}

/* Everything goes through, whatever the cuts, and what is lent never moves. */
static void model_run(model_t *m, size_t cut, unsigned slow)
{
    const uint8_t *lent = NULL;
    size_t lent_len = 0, lent_at = 0;
    model_grant(m);
    while (m->read < m->count || m->sent < m->wire_len) {
        bool any = model_send(m, cut == 0 ? SIZE_MAX : 1 + below(&m->rng, cut)), idle = !any;
        m->parted += m->rx.lent_ptr != NULL;
        if (idle || below(&m->rng, slow) == 0) {
            size_t before = m->read;
            if (m->lends && lent) assert_memory_equal(lent, m->wire + lent_at, lent_len);
            if (model_pull(m, &lent, &lent_len)) {
                lent_at = m->messages[before].at;
                any = true;
            }
        }
        assert_true(any); /* neither side can go on: a stall */
    }
}

static void model_sizes(model_t *m, const size_t *sizes, size_t count)
{
    for (size_t i = 0; i < count; i++) model_add(m, sizes[i]);
}

static const size_t kib = 1024;

static void all_sizes_go_through_all_windows(void **state)
{
    static const size_t sizes[] = { 0, 1, 0, 5, 507, 512, 1018, 1019, 1020, 1023, 1024, 1025, 100, 4091, 4096,
                                    30000, 40000, 16379, 65530, 65531, 65532, 65536, 3, 70000, 131072,
                                    262139, 262144, 300000, 9, LIMIT, 1u << 20, 0, 17 };
    static const size_t windows[] = { 1, 4, 63, 64, 256 };
    static const size_t cuts[] = { 0, 9000 };
    (void)state;
    for (size_t w = 0; w < ENSI_COUNT(windows); w++)
        for (size_t c = 0; c < ENSI_COUNT(cuts); c++)
            for (unsigned lends = 0; lends < 2; lends++) {
                model_t m;
                model_open(&m, 7 * w + c, windows[w] * kib, LIMIT);
                m.lends = lends != 0;
                model_sizes(&m, sizes, ENSI_COUNT(sizes));
                model_run(&m, cuts[c], 3);
                model_close(&m);
            }
}

static void one_byte_cuts_go_through(void **state)
{
    static const size_t sizes[] = { 0, 1, 2, 1019, 1020, 0, 4091, 1024, 700, 700, 5, 9000, 3, 2000, 2000, 0 };
    (void)state;
    for (unsigned lends = 0; lends < 2; lends++)
        for (unsigned slow = 1; slow < 3000; slow = slow * 3 + 1) {
            model_t m;
            model_open(&m, slow, 1024, 8192);
            m.lends = lends != 0;
            model_sizes(&m, sizes, ENSI_COUNT(sizes));
            model_run(&m, 1, slow);
            model_close(&m);
        }
}

static void random_messages_go_through_random_windows(void **state)
{
    size_t parted = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        model_t m;
        uint64_t rng = seed;
        size_t window = kib << below(&rng, 9), limit = kib + below(&rng, 3 * window), most = limit * 5 / 4;
        model_open(&m, seed, window, limit);
        m.lends = below(&rng, 4) != 0;
        for (size_t i = 0; i < 40; i++) {
            size_t kind = below(&rng, 4);
            model_add(&m, kind == 0 ? below(&rng, 12) : kind == 1 ? below(&rng, most) : below(&rng, window));
        }
        model_run(&m, 1 + below(&rng, window * 2), 1 + (unsigned)below(&rng, 6));
        parted += m.parted > 0;
        model_close(&m);
    }
    assert_true(parted > 40); /* the second buffer was tried as well */
}

/* A message larger than the window gets exactly what it lacks, and the buffer shrinks behind it. */
static void a_large_message_gets_what_it_lacks_and_no_more(void **state)
{
    model_t m;
    const uint8_t *lent;
    size_t len;
    (void)state;
    model_open(&m, 1, 4096, LIMIT);
    model_add(&m, 100000);
    model_add(&m, 10);
    model_grant(&m);
    assert_int_equal(m.credit, 4096);
    assert_true(model_send(&m, 5));
    assert_int_equal(m.credit, 100000); /* all of it behind the prefix */
    assert_int_equal(m.rx.cap, 100000 + ENSI_GRPC_PREFIX + SPARE);
    while (m.credit > 0) assert_true(model_send(&m, 16384));
    assert_int_equal(m.sent, 100000 + ENSI_GRPC_PREFIX);
    assert_true(model_pull(&m, &lent, &len));
    assert_int_equal(m.rx.cap, 4096 + SPARE);
    assert_int_equal(m.credit, 4096);
    model_close(&m);
}

/* Nobody reads: the window fills, and no more credit goes out. */
static void an_unread_stream_takes_one_window(void **state)
{
    model_t m;
    (void)state;
    model_open(&m, 1, 4096, LIMIT);
    for (size_t i = 0; i < 100; i++) model_add(&m, 123); /* 32 times 128 is 4096 */
    model_grant(&m);
    while (model_send(&m, 1000)) continue;
    assert_int_equal(m.sent, 4096);
    model_close(&m);
}

/* The next message is due behind one that the reader keeps: it comes whole, and the kept one stands. */
static void the_next_message_completes_behind_a_lent_one(void **state)
{
    static const size_t second[] = { 0, 1, 500, 3000, 4091, 4092, 50000, LIMIT };
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(second); i++) {
        model_t m;
        const uint8_t *lent;
        size_t len, total;
        model_open(&m, 1, 4096, LIMIT);
        m.lends = true;
        model_add(&m, 4000);
        model_add(&m, second[i]);
        model_grant(&m);
        while (m.read == 0) {
            model_send(&m, 3);
            model_pull(&m, &lent, &len);
        }
        while (m.sent < m.wire_len) assert_true(model_send(&m, 5000));
        assert_int_equal(ensi_rx_head(&m.rx, &total), ENSIGN_OK);
        assert_memory_equal(lent, m.wire, len);
        model_close(&m);
    }
}

static void messages_within_the_window_allocate_nothing_in_the_long_run(void **state)
{
    (void)state;
    for (unsigned lends = 0; lends < 2; lends++) {
        model_t m;
        size_t calls;
        model_open(&m, 5, 16 * kib, LIMIT);
        m.lends = lends != 0;
        for (size_t i = 0; i < 200; i++) model_add(&m, below(&m.rng, 16 * kib - ENSI_GRPC_PREFIX + 1));
        model_run(&m, 20000, 2);
        calls = heap.calls;
        assert_true(m.peak <= 2 * (16 * kib + SPARE + ENSI_MEM_HEADER));
        for (size_t i = 0; i < 1000; i++) model_add(&m, below(&m.rng, 16 * kib - ENSI_GRPC_PREFIX + 1));
        model_run(&m, 20000, 2);
        assert_int_equal(heap.calls, calls);
        model_close(&m);
    }
}

/* Nor do larger ones, once they keep coming; what they take stays within two of the largest, and is given back
 * behind them. */
static void large_messages_allocate_nothing_in_the_long_run(void **state)
{
    enum { WINDOW = 16 * 1024, MOST = 300000 };
    (void)state;
    for (unsigned lends = 0; lends < 2; lends++)
        for (unsigned mixed = 0; mixed < 2; mixed++) {
            model_t m;
            size_t calls;
            model_open(&m, 5 + mixed, WINDOW, MOST);
            m.lends = lends != 0;
            model_add(&m, MOST); /* the buffers have seen the largest, twice */
            for (size_t i = 0; i < 4; i++) model_add(&m, WINDOW + 1 + below(&m.rng, MOST - WINDOW));
            model_add(&m, MOST);
            model_add(&m, MOST);
            model_run(&m, 20000, 2);
            calls = heap.calls;
            for (size_t i = 0; i < 500; i++)
                model_add(&m, mixed && below(&m.rng, 8) ? below(&m.rng, WINDOW)
                                                        : WINDOW + 1 + below(&m.rng, MOST - WINDOW));
            model_run(&m, 20000, 2);
            if (heap.calls != calls) fail_msg("lends %u, mixed %u: %zu calls", lends, mixed, heap.calls - calls);
            assert_true(m.peak <= 2 * (MOST + ENSI_GRPC_PREFIX) + WINDOW + 3 * (SPARE + ENSI_MEM_HEADER));
            for (size_t i = 0; i <= ENSI_RX_RECENT + 1; i++) model_add(&m, 1000);
            model_run(&m, 20000, 1);
            assert_true(m.mem.used <= 2 * (WINDOW + SPARE + ENSI_MEM_HEADER));
            model_close(&m);
        }
}

/* A large message now and then leaves nothing behind. Ever larger ones take a few blocks, not one each. */
static void large_blocks_are_not_kept_for_nothing(void **state)
{
    enum { WINDOW = 4096, MOST = 1 << 20 };
    (void)state;
    for (unsigned lends = 0; lends < 2; lends++) {
        model_t m;
        size_t calls;
        model_open(&m, 9, WINDOW, MOST);
        m.lends = lends != 0;
        for (size_t i = 0; i < 5; i++) {
            model_add(&m, 100000);
            for (size_t k = 0; k <= ENSI_RX_RECENT; k++) {
                model_add(&m, 10);
                model_run(&m, 20000, 1);
                if (k > 0) assert_true(m.mem.used <= 2 * (WINDOW + SPARE + ENSI_MEM_HEADER));
            }
        }
        calls = heap.calls;
        for (size_t len = 5000; len < MOST; len += 5000) model_add(&m, len);
        model_run(&m, 20000, 1);
        assert_true(heap.calls - calls < 40);
        model_close(&m);
    }
}

/* Without memory for the next message nothing changes, and it goes on when there is some again. */
static void a_failed_growth_leaves_all_as_it_was(void **state)
{
    (void)state;
    for (unsigned lends = 0; lends < 2; lends++) {
        model_t m;
        ensi_rx_t was;
        const uint8_t *lent;
        size_t len;
        uint8_t prefix[ENSI_GRPC_PREFIX] = { 0, 0, 1, 0x86, 0xA0 }; /* 100,000 */
        model_open(&m, 1, 1024, LIMIT);
        m.lends = lends != 0;
        model_add(&m, 500);
        model_add(&m, 100000);
        model_grant(&m);
        assert_true(model_send(&m, 505));
        assert_true(model_pull(&m, &lent, &len));
        assert_true(ensi_rx_store(&m.rx, &m.mem, prefix, sizeof prefix));
        m.credit -= sizeof prefix;
        m.sent += sizeof prefix;
        was = m.rx;
        heap.fail = true;
        assert_false(ensi_rx_fit(&m.rx, &m.mem, m.credit));
        assert_int_equal(m.rx.cap, was.cap);
        assert_ptr_equal(m.rx.ptr, was.ptr);
        assert_int_equal(m.rx.end - m.rx.start, was.end - was.start);
        if (lends) assert_memory_equal(lent, m.wire, len);
        heap.fail = false;
        model_grant(&m);
        model_run(&m, 5000, 1);
        model_close(&m);
    }
}

static void more_than_the_credit_is_refused(void **state)
{
    ensi_mem_t mem;
    ensi_rx_t r;
    static uint8_t bytes[2000];
    (void)state;
    heap_start(&mem);
    ensi_rx_open(&r, 1024, LIMIT, 0);
    heap.fail = true;
    assert_false(ensi_rx_store(&r, &mem, bytes, 1));
    heap.fail = false;
    assert_true(ensi_rx_store(&r, &mem, bytes, 1024));
    assert_false(ensi_rx_store(&r, &mem, bytes, 1));
    assert_int_equal(r.end, 1024);
    r.skip = 3;
    assert_true(ensi_rx_store(&r, &mem, bytes, 3)); /* unwanted bytes need no room */
    assert_int_equal(r.skip, 0);
    ensi_rx_free(&r, &mem);
    heap_end(&mem);
}

/* ---- a session against frames made by hand */

typedef struct {
    ensi_env_t env;
    ensi_h2_t h2;
    ensi_touched_t touched;
    ensi_stream_t s;
    uint8_t out[65536];             /* what the client sent and was not parsed yet */
    size_t out_len;
    bool greeted;
    int64_t credit, connection;     /* what its WINDOW_UPDATEs gave, less what was sent */
    unsigned updates, resets;
    unsigned messages;              /* sent and begun */
    size_t left;                    /* of the message that was begun, prefix included */
    size_t length;                  /* of each message */
    unsigned pulled;
} wire_t;

static size_t wire_read(ensi_stream_t *s, uint8_t *out, size_t cap, bool *eof)
{
    (void)s;
    (void)out;
    (void)cap;
    *eof = false;
    return 0;
}

static void wire_header(ensi_stream_t *s, ensign_slice_t name, ensign_slice_t value)
{
    (void)s;
    (void)name;
    (void)value;
}

static int wire_give(wire_t *w, uint8_t type, uint8_t flags, uint32_t id, const void *body, size_t len)
{
    static uint8_t frame[9 + 16384];
    ensi_put_be32(frame, (uint32_t)len << 8);
    frame[3] = type;
    frame[4] = flags;
    ensi_put_be32(frame + 5, id);
    if (len) memcpy(frame + 9, body, len);
    return ensi_h2_receive(&w->h2, frame, 9 + len);
}

static void wire_parse(wire_t *w)
{
    size_t at = 0;
    if (!w->greeted && w->out_len >= 24) {
        w->greeted = true;
        at = 24;
    }
    while (w->out_len - at >= 9) {
        const uint8_t *p = w->out + at;
        size_t len = ensi_get_be32(p) >> 8;
        if (w->out_len - at < 9 + len) break;
        if (p[3] == NGHTTP2_WINDOW_UPDATE) {
            if (ensi_get_be32(p + 5) == 0) {
                w->connection += ensi_get_be32(p + 9);
            } else {
                w->credit += ensi_get_be32(p + 9);
                w->updates++;
            }
        }
        w->resets += p[3] == NGHTTP2_RST_STREAM;
        at += 9 + len;
    }
    memmove(w->out, w->out + at, w->out_len - at);
    w->out_len -= at;
}

/* What the pump does: acts on what was touched, then hands over what is to be sent. */
static int wire_pump(wire_t *w, bool send)
{
    size_t len = 0;
    int rc = ENSIGN_OK;
    do {
        while (ensi_touched_take(&w->touched)) {
            if (!w->s.closed) assert_true(ensi_h2_grant(&w->s, &w->env.mem));
        }
        if (!send) return ENSIGN_OK;
        rc = ensi_h2_send(&w->h2, w->out + w->out_len, sizeof w->out - w->out_len, &len);
        w->out_len += len;
        wire_parse(w);
    } while (rc == ENSIGN_OK && (len > 0 || w->touched.first));
    return rc;
}

/* A session with one stream, headers exchanged; the SETTINGS are not acknowledged. */
static void wire_open(wire_t *w, size_t window, size_t limit)
{
    static const uint8_t ok[] = { 0x88 }; /* RFC 7541, static table: ":status: 200" */
    nghttp2_nv nv;
    memset(w, 0, sizeof *w);
    memset(&nv, 0, sizeof nv);
    heap_start(&w->env.mem);
    w->h2.env = &w->env;
    w->h2.header_max = ENSI_H2_HEADERS;
    w->s.list = &w->touched;
    w->s.read = wire_read;
    w->s.header = wire_header;
    w->connection = 65535;
    ensi_rx_open(&w->s.rx, window, limit + ENSI_GRPC_PREFIX, 0);
    assert_int_equal(ensi_h2_start(&w->h2, 1u << 20), ENSIGN_OK);
    assert_false(ensi_h2_can_open(&w->h2));
    assert_int_equal(wire_give(w, NGHTTP2_SETTINGS, 0, 0, NULL, 0), ENSIGN_OK);
    assert_true(ensi_h2_can_open(&w->h2));
    nv.name = (uint8_t *)(uintptr_t) ":method";
    nv.value = (uint8_t *)(uintptr_t) "POST";
    nv.namelen = 7;
    nv.valuelen = 4;
    assert_int_equal(ensi_h2_submit(&w->h2, &w->s, &nv, 1), ENSIGN_OK);
    assert_int_equal(wire_pump(w, true), ENSIGN_OK);
    assert_int_equal(w->credit, window);
    assert_int_equal(wire_give(w, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, ok, sizeof ok), ENSIGN_OK);
    assert_true(w->s.initial);
}

static void wire_close(wire_t *w)
{
    ensi_h2_stop(&w->h2);
    ensi_rx_free(&w->s.rx, &w->env.mem);
    heap_end(&w->env.mem);
}

static int wire_ack_settings(wire_t *w)
{
    return wire_give(w, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, NULL, 0);
}

/* The next n bytes of a stream of equal messages, in a frame that is padded if pad > 0: one byte says how
 * much, pad - 1 follow. */
static int wire_data(wire_t *w, size_t n, size_t pad)
{
    static uint8_t body[16384];
    size_t at = pad ? 1 : 0;
    memset(body, 0, sizeof body);
    if (pad) body[0] = (uint8_t)(pad - 1);
    for (size_t i = 0; i < n; i++, at++, w->left--) {
        size_t place;
        if (w->left == 0) {
            w->messages++;
            w->left = w->length + ENSI_GRPC_PREFIX;
        }
        place = w->length + ENSI_GRPC_PREFIX - w->left;
        if (place > 0) body[at] = (uint8_t)(place <= 4 ? w->length >> (32 - 8 * place) : place + w->messages);
    }
    w->credit -= (int64_t)(n + pad);
    w->connection -= (int64_t)(n + pad);
    assert_true(w->connection >= 0);
    return wire_give(w, NGHTTP2_DATA, pad ? NGHTTP2_FLAG_PADDED : 0, 1, body, n + pad);
}

static bool wire_pull(wire_t *w)
{
    ensi_rx_t *r = &w->s.rx;
    size_t total;
    if (ensi_rx_head(r, &total) != ENSIGN_OK) return false;
    if (!ensi_rx_release(r, &w->env.mem)) ensi_stream_touch(&w->s);
    ensi_h2_shrink(&w->s, &w->env.mem);
    assert_int_equal(total, w->length + ENSI_GRPC_PREFIX);
    w->pulled++;
    for (size_t i = ENSI_GRPC_PREFIX; i < total; i++)
        assert_int_equal(r->ptr[r->start + i], (uint8_t)(i + w->pulled));
    r->lent = total;
    if (!ensi_h2_has_message(&w->s)) assert_true(ensi_h2_grant(&w->s, &w->env.mem));
    else if (ensi_h2_half_free(&w->s)) ensi_stream_touch(&w->s);
    return true;
}

static void credit_is_the_window_before_and_after_the_settings_ack(void **state)
{
    wire_t w;
    (void)state;
    wire_open(&w, 4096, LIMIT);
    w.length = 1000;
    assert_int_equal(ensi_h2_credit(&w.s), 4096);
    assert_int_equal(wire_data(&w, 1500, 0), ENSIGN_OK);
    assert_int_equal(ensi_h2_credit(&w.s), 4096 - 1500);
    assert_int_equal(wire_ack_settings(&w), ENSIGN_OK);
    assert_int_equal(ensi_h2_credit(&w.s), 4096 - 1500);
    assert_int_equal(wire_pump(&w, true), ENSIGN_OK);
    assert_int_equal(w.updates, 1);
    while (w.pulled < 100) {
        if (w.credit > 0) assert_int_equal(wire_data(&w, (size_t)w.credit, 0), ENSIGN_OK);
        assert_int_equal(wire_pump(&w, true), ENSIGN_OK);
        assert_int_equal(ensi_h2_credit(&w.s), w.credit);
        assert_true(wire_pull(&w));
        assert_int_equal(wire_pump(&w, true), ENSIGN_OK);
        assert_int_equal(ensi_h2_credit(&w.s), w.credit);
    }
    assert_false(w.s.overrun);
    wire_close(&w);
}

/* Before the acknowledgement nghttp2 would let 65,535 bytes more through. */
static void more_than_the_credit_is_seen_before_the_settings_ack(void **state)
{
    wire_t w;
    (void)state;
    wire_open(&w, 4096, LIMIT);
    w.length = 10000;
    assert_int_equal(wire_data(&w, 4096, 0), ENSIGN_OK);
    assert_false(w.s.overrun);
    assert_int_equal(wire_data(&w, 1, 0), ENSIGN_OK);
    assert_true(w.s.overrun);
    wire_close(&w);
}

/* nghttp2 returns the credit of padding by itself, late and in one piece, and takes into account what we gave
 * meanwhile. The reader is slow: it pulls when the server has no credit left. */
static void padding_is_no_abuse_and_no_stall(void **state)
{
    static const size_t windows[] = { 1024, 4096, 65536 }, pads[] = { 1, 2, 30, 256 },
                        frames[] = { 0, 1, 100, 2000 }, lengths[] = { 0, 100, 900, 3000 };
    (void)state;
    for (size_t i = 0; i < 3 * 4 * 4 * 4; i++) {
        size_t window = windows[i % 3], pad = pads[i / 3 % 4], frame = frames[i / 12 % 4];
        unsigned sent = 0;
        wire_t w;
        wire_open(&w, window, LIMIT);
        w.length = lengths[i / 48 % 4];
        assert_int_equal(wire_ack_settings(&w), ENSIGN_OK);
        while (sent++ < 2000) {
            size_t n = frame;
            if (w.credit < (int64_t)(pad + 1)) { /* the server waits: the reader's turn */
                while (w.credit < (int64_t)(pad + 1)) {
                    bool pulled = wire_pull(&w);
                    assert_int_equal(wire_pump(&w, true), ENSIGN_OK);
                    if (pulled || w.credit >= (int64_t)(pad + 1)) continue;
                    assert_true(w.credit > 0); /* a rest that is too small for a padded frame */
                    assert_int_equal(wire_data(&w, 1, 0), ENSIGN_OK);
                    assert_int_equal(wire_pump(&w, true), ENSIGN_OK);
                }
                continue;
            }
            if ((int64_t)(n + pad) > w.credit) n = (size_t)w.credit - pad;
            assert_int_equal(wire_data(&w, n, pad), ENSIGN_OK);
            assert_int_equal(wire_pump(&w, true), ENSIGN_OK);
            assert_false(w.s.overrun);
            assert_int_equal(ensi_h2_credit(&w.s), w.credit);
            assert_true(w.s.rx.end + (size_t)w.credit <= w.s.rx.cap);
        }
        assert_int_equal(w.resets, 0);
        wire_close(&w);
    }
}

/* Behind a large message the buffer could not shrink; later, with its credit spent on padding, it could. */
static void a_late_shrink_grants_nothing_twice(void **state)
{
    wire_t w;
    (void)state;
    wire_open(&w, 4096, LIMIT);
    assert_int_equal(wire_ack_settings(&w), ENSIGN_OK);
    w.length = 200000;
    while (ensi_h2_credit(&w.s) > 0) {
        size_t n = ensi_min(w.messages ? w.left : SIZE_MAX, (size_t)ensi_min((size_t)w.credit, 16384));
        assert_int_equal(wire_data(&w, n, 0), ENSIGN_OK);
        assert_int_equal(wire_pump(&w, true), ENSIGN_OK);
    }
    assert_int_equal(w.left, 0);
    ensi_rx_release(&w.s.rx, &w.env.mem);
    w.s.rx.start = w.s.rx.end = 0;
    heap.fail = true;
    assert_true(ensi_h2_grant(&w.s, &w.env.mem));
    heap.fail = false;
    assert_int_equal(w.s.rx.cap, 4096); /* what may be promised, whatever the block is */
    assert_true(ensi_mem_size(w.s.rx.ptr) > 200000);
    w.length = 300;
    w.messages = w.pulled = 0;
    for (unsigned i = 0; i < 5000; i++) {
        size_t n = i % 200 < 197 ? 256 : 150;
        if (w.credit >= (int64_t)n + 256) assert_int_equal(wire_data(&w, n, 256), ENSIGN_OK);
        else if (w.credit > 0) assert_int_equal(wire_data(&w, 1, 0), ENSIGN_OK);
        assert_int_equal(wire_pump(&w, true), ENSIGN_OK);
        assert_false(w.s.overrun);
        assert_true(w.s.rx.end + (size_t)w.credit <= w.s.rx.cap);
        while (wire_pull(&w)) continue;
    }
    assert_true(w.pulled > 100);
    wire_close(&w);
}

static void the_largest_length_is_too_large_on_any_machine(void **state)
{
    uint8_t prefix[] = { 0, 0xFF, 0xFF, 0xFF, 0xFF };
    ensi_rx_t r;
    size_t total;
    (void)state;
    memset(&r, 0, sizeof r);
    r.ptr = prefix;
    r.end = sizeof prefix;
    assert_int_equal(ensi_rx_head(&r, &total), ENSIGN_AGAIN);
    assert_true(total >= UINT32_MAX);
}

/* A peer that sends and never reads: its frames are taken, ours do not pile up. */
static void a_peer_that_does_not_read_makes_no_queue(void **state)
{
    wire_t w;
    (void)state;
    wire_open(&w, 1024, LIMIT);
    w.length = 600;
    assert_int_equal(wire_ack_settings(&w), ENSIGN_OK);
    for (unsigned i = 0; i < 500; i++) {
        size_t n = ensi_h2_credit(&w.s);
        if (n > 0) assert_int_equal(wire_data(&w, n, 0), ENSIGN_OK);
        assert_int_equal(wire_pump(&w, false), ENSIGN_OK);
        while (wire_pull(&w)) continue;
        assert_true(nghttp2_session_get_outbound_queue_size(w.h2.session) <= 3);
    }
    assert_int_equal(wire_pump(&w, true), ENSIGN_OK); /* it reads again: what was held back comes */
    assert_true(w.s.rx.cap - w.s.rx.end <= (size_t)w.credit || w.credit >= 512);
    wire_close(&w);
}

static void no_memory(wire_t *w)
{
    ensi_mem_close(&w->env.mem); /* the small blocks too */
    heap.fail = true;
}

/* Credit that nghttp2 could not queue would be counted and never sent: the call would wait for ever. */
static void a_grant_without_memory_says_so(void **state)
{
    wire_t w;
    (void)state;
    wire_open(&w, 4096, LIMIT);
    w.length = 4000;
    assert_int_equal(wire_ack_settings(&w), ENSIGN_OK);
    assert_int_equal(wire_data(&w, 4005, 0), ENSIGN_OK);
    ensi_rx_release(&w.s.rx, &w.env.mem);
    w.s.rx.start = w.s.rx.end = 0;
    no_memory(&w);
    assert_false(ensi_h2_grant(&w.s, &w.env.mem));
    heap.fail = false;
    wire_close(&w);
}

static void a_reset_without_memory_ends_the_session(void **state)
{
    wire_t w;
    (void)state;
    wire_open(&w, 4096, LIMIT);
    w.length = 4000;
    no_memory(&w);
    ensi_h2_reset(&w.s, NGHTTP2_CANCEL);
    assert_true(ensi_h2_wants_write(&w.h2));
    assert_int_equal(wire_pump(&w, true), ENSIGN_E_MEMORY);
    heap.fail = false;
    wire_close(&w);
}

/* Streams that the session cut are told; a stream that was reset is not found any more. */
static void the_end_of_a_session_is_told_to_its_streams(void **state)
{
    wire_t w;
    (void)state;
    wire_open(&w, 4096, LIMIT);
    assert_int_equal(wire_pump(&w, true), ENSIGN_OK);
    assert_null(w.touched.first);
    ensi_h2_stop(&w.h2);
    assert_true(w.s.closed && w.s.lost && w.s.touched);
    assert_int_equal(w.s.id, 0);
    assert_int_equal(w.h2.open, 0);
    assert_ptr_equal(w.touched.first, &w.s);
    ensi_stream_untouch(&w.s);
    assert_null(w.touched.first);
    wire_close(&w);

    wire_open(&w, 4096, LIMIT);
    w.length = 100;
    assert_int_equal(wire_pump(&w, true), ENSIGN_OK);
    ensi_h2_reset(&w.s, NGHTTP2_CANCEL);
    assert_int_equal(w.h2.open, 0);
    assert_int_equal(wire_data(&w, 105, 0), ENSIGN_OK); /* was on its way */
    assert_int_equal(w.s.rx.end, 0);
    assert_null(w.touched.first);
    assert_int_equal(wire_pump(&w, true), ENSIGN_OK);
    assert_int_equal(w.resets, 1);
    wire_close(&w);
}

/* What the session says at its end is why it ended, not what was wrong with a header field before. */
static void the_end_of_a_session_says_why(void **state)
{
    static const uint8_t odd[] = { 0x00, 1, 'A', 1, 'b' }, block[] = { 0x88, 0x00, 1, 'A', 1, 'b' };
    wire_t w;
    (void)state;
    wire_open(&w, 4096, LIMIT);
    assert_int_equal(wire_give(&w, NGHTTP2_HEADERS, 5, 1, odd, sizeof odd), ENSIGN_OK);
    assert_string_equal(w.h2.fault, "");
    assert_int_equal(wire_pump(&w, true), ENSIGN_OK);
    assert_true(ensi_h2_alive(&w.h2));
    /* on a stream that was never opened */
    assert_int_equal(wire_give(&w, NGHTTP2_HEADERS, 4, 9, block, sizeof block), ENSIGN_OK);
    assert_int_equal(wire_pump(&w, true), ENSIGN_OK);
    assert_false(ensi_h2_alive(&w.h2));
    assert_non_null(strstr(w.h2.fault, "PROTOCOL_ERROR: "));
    assert_true(strlen(w.h2.fault) > strlen("PROTOCOL_ERROR: "));
    assert_int_equal(w.h2.fault_code, NGHTTP2_PROTOCOL_ERROR);
    assert_false(w.h2.draining);
    wire_close(&w);
}

/* A literal header: name and value are announced by their lengths, multiples of five, and sent as far as one
 * frame holds. In Huffman codes eight times 'a' is five bytes (RFC 7541, appendix B). */
static int wire_header_of(wire_t *w, size_t name, size_t value, bool huffman)
{
    static const uint8_t codes[] = { 0x18, 0xC6, 0x31, 0x8C, 0x63 }, plain[] = { 'a', 'a', 'a', 'a', 'a' };
    static uint8_t block[16000];
    uint8_t *p = block;
    size_t sizes[2] = { name, value };
    *p++ = 0;
    for (int i = 0; i < 2; i++) {
        size_t left = sizes[i] - 127; /* RFC 7541, 5.1: an integer with a prefix of 7 bits */
        assert_true(sizes[i] > 127);
        *p++ = (uint8_t)(huffman ? 0xFF : 0x7F);
        for (; left >= 128; left >>= 7) *p++ = (uint8_t)(0x80 | (left & 0x7F));
        *p++ = (uint8_t)left;
        if (sizes[i] > sizeof block - 16 - (size_t)(p - block)) break;
        for (size_t k = 0; k < sizes[i]; k++) *p++ = (huffman ? codes : plain)[k % sizeof codes];
    }
    return wire_give(w, NGHTTP2_HEADERS, 0, 1, block, (size_t)(p - block));
}

static void a_header_over_the_limit_ends_the_session_and_names_it(void **state)
{
    static const struct { size_t limit, name, value; bool huffman, good; } rows[] = {
        { ENSI_H2_HEADERS, 130, 8000, false, true },    { ENSI_H2_HEADERS, 65000, 130, true, true },
        { 4096, 1000, 3000, false, true },              { 8192, 200, 7500, true, true },
        { 4096, 17410, 130, false, false },             { 4096, 130, 40000, false, false },
        { 4096, 130, 9000, true, false },               { 8192, 20000, 130, true, false },
        { 16384, 130, 17000, true, false },             { 32768, 130, 65000, true, false },
    };
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(rows); i++) {
        char text[120];
        size_t before;
        wire_t w;
        int rc;
        wire_open(&w, 4096, LIMIT);
        w.h2.header_max = rows[i].limit;
        before = w.env.mem.used;
        rc = wire_header_of(&w, rows[i].name, rows[i].value, rows[i].huffman);
        if (rows[i].good) {
            assert_int_equal(rc, ENSIGN_OK);
            assert_int_equal(wire_pump(&w, true), ENSIGN_OK);
            assert_false(w.h2.oversize);
            assert_string_equal(w.h2.fault, "");
            assert_true(ensi_h2_alive(&w.h2));
        } else {
            assert_int_equal(rc, ENSIGN_E_TOO_LARGE);
            snprintf(text, sizeof text, "it sends a header of over %lu bytes; raise max_header_bytes",
                     (unsigned long)rows[i].limit);
            assert_string_equal(w.h2.fault, text);
            assert_true(w.env.mem.used < before + rows[i].limit); /* and it was not stored */
        }
        assert_false(w.s.closed);
        wire_close(&w);
    }
}

static void a_servers_goaway_is_noted_with_its_text(void **state)
{
    static const uint8_t goaway[] = { 0, 0, 0, 1, 0, 0, 0, 11, 't', 'o', 'o', ' ', 'm', 'a', 'n', 'y' };
    wire_t w;
    (void)state;
    wire_open(&w, 4096, LIMIT);
    assert_int_equal(wire_give(&w, NGHTTP2_GOAWAY, 0, 0, goaway, sizeof goaway), ENSIGN_OK);
    assert_true(w.h2.draining);
    assert_false(ensi_h2_can_open(&w.h2));
    assert_int_equal(w.h2.goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_string_equal(w.h2.goaway_text, "too many");
    wire_close(&w);
}

/* Connection credit returns whether or not anybody reads the stream. */
static void an_unread_stream_holds_up_no_other(void **state)
{
    wire_t w;
    (void)state;
    wire_open(&w, 4u << 20, LIMIT);
    w.length = 1000;
    assert_int_equal(wire_ack_settings(&w), ENSIGN_OK);
    for (unsigned i = 0; i < 250; i++) {
        assert_int_equal(wire_data(&w, 16000, 0), ENSIGN_OK);
        assert_int_equal(wire_pump(&w, true), ENSIGN_OK);
    }
    assert_true(w.connection >= 1 << 19);
    assert_int_equal(w.pulled, 0);
    wire_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_sizes_go_through_all_windows),
        cmocka_unit_test(one_byte_cuts_go_through),
        cmocka_unit_test(random_messages_go_through_random_windows),
        cmocka_unit_test(a_large_message_gets_what_it_lacks_and_no_more),
        cmocka_unit_test(an_unread_stream_takes_one_window),
        cmocka_unit_test(the_next_message_completes_behind_a_lent_one),
        cmocka_unit_test(messages_within_the_window_allocate_nothing_in_the_long_run),
        cmocka_unit_test(large_messages_allocate_nothing_in_the_long_run),
        cmocka_unit_test(large_blocks_are_not_kept_for_nothing),
        cmocka_unit_test(a_failed_growth_leaves_all_as_it_was),
        cmocka_unit_test(more_than_the_credit_is_refused),
        cmocka_unit_test(credit_is_the_window_before_and_after_the_settings_ack),
        cmocka_unit_test(more_than_the_credit_is_seen_before_the_settings_ack),
        cmocka_unit_test(padding_is_no_abuse_and_no_stall),
        cmocka_unit_test(a_late_shrink_grants_nothing_twice),
        cmocka_unit_test(the_largest_length_is_too_large_on_any_machine),
        cmocka_unit_test(a_peer_that_does_not_read_makes_no_queue),
        cmocka_unit_test(a_grant_without_memory_says_so),
        cmocka_unit_test(a_reset_without_memory_ends_the_session),
        cmocka_unit_test(the_end_of_a_session_is_told_to_its_streams),
        cmocka_unit_test(the_end_of_a_session_says_why),
        cmocka_unit_test(a_header_over_the_limit_ends_the_session_and_names_it),
        cmocka_unit_test(a_servers_goaway_is_noted_with_its_text),
        cmocka_unit_test(an_unread_stream_holds_up_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
