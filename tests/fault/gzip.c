/* Calls that compress and decompress, over and over: with the Nth allocation failing, for every N, and under
   each memory_limit. Each call tells how it ended, and nothing may leak. */
#define ENSIGN_GZIP
#include "../seq/calls.h"
#include "../gzip.h"

enum { LARGE = 30000, MESSAGES = 3 };

static struct { uint32_t unary, stream; int replies, messages, ends, failed, packed; } session;
static char text[LARGE];

/* Answers each message with itself, compressed. */
static void serve(world_t *w, stream_t *s, ensign_slice_t m)
{
    bytes_t plain = {0}, b = {0};
    (void)w;
    if (s->in.p[s->in_at - m.len - 5]) assert_true(gzip_read(&plain, m.ptr, m.len, LARGE));
    else bytes_add(&plain, m.ptr, m.len);
    if (!s->started)
        peer_headers(s, "200", "content-type", "application/grpc", "grpc-encoding", "gzip", NULL);
    gzip_add(&b, plain.p, plain.len);
    peer_prefix(s, 1, b.len);
    peer_raw(s, b.p, b.len);
    bytes_free(&b);
    bytes_free(&plain);
}

static void serve_end(world_t *w, stream_t *s)
{
    (void)w;
    if (!s->done) peer_finish(s, 0, NULL, NULL);
}

static void want_text(world_t *w, ensign_slice_t m, bool decompressed)
{
    if (!decompressed || m.len < LARGE - MESSAGES || memcmp(m.ptr, text, m.len) != 0)
        world_fail(w, "an answer of %zu bytes that is not what was sent", m.len);
}

static void note(world_t *w, const ensign_notice_t *n)
{
    if (n->handle == ENSIGN_CLIENT) return;
    if (n->type == ENSIGN_NOTICE_MESSAGE) {
        session.messages++;
        want_text(w, n->as.message.bytes, n->as.message.decompressed);
    }
    if (n->type == ENSIGN_NOTICE_REPLY && n->as.reply.status == ENSIGN_GRPC_OK) {
        session.replies++;
        want_text(w, n->as.reply.message, n->as.reply.decompressed);
    }
    if (!n->last) return;
    session.ends++;
    if (!n->error) return;
    session.failed++;
    if (strstr(n->error->text, "memory: none to decompress")) { /* what came stays as it was */
        assert_int_equal(n->error->code, ENSIGN_E_MEMORY);
        session.packed++;
    }
    if (n->error->text[0] == '\0') world_fail(w, "an end without a text");
}

/* A result that memory can have. */
static bool sent(world_t *w, int rc)
{
    if (rc == ENSIGN_OK) return true;
    if (rc != ENSIGN_E_MEMORY || !strstr(ensign_error(w->client)->text, "memory"))
        world_fail(w, "sending gave %d: %s", rc, ensign_error(w->client)->text);
    return false;
}

static void open_calls(world_t *w)
{
    ensign_call_desc_t d = streaming();
    uint8_t *out;
    d.compress = true;
    d.wait_for_ready = w->desc.memory_limit == 0; /* where no connection can be had it would wait for ever */
    d.send_buffer_bytes = 4 * LARGE;
    session.stream = ensign_call_open(w->client, &d).id;
    d.unary = true;
    d.request = slice_of(text, LARGE);
    session.unary = ensign_call_open(w->client, &d).id;
    if (!session.stream || !session.unary) assert_int_equal(ensign_error(w->client)->code, ENSIGN_E_MEMORY);
    if (!session.stream) return;
    for (int i = 0; i < MESSAGES; i++) {
        ensign_call_t k = as_call(session.stream);
        size_t n = LARGE - (size_t)i;
        if (i == 1) {
            if (!sent(w, ensign_call_reserve(w->client, k, n, &out))) continue;
            memcpy(out, text, n);
            assert_int_equal(ensign_call_commit(w->client, k, n, 0), ENSIGN_OK);
        } else {
            sent(w, ensign_call_send(w->client, k, slice_of(text, n), 0));
        }
    }
    assert_int_equal(ensign_call_half_close(w->client, as_call(session.stream)), ENSIGN_OK);
}

/* False: there was no client. */
static bool play(world_t *w)
{
    int opened, turns = 0;
    memset(&session, 0, sizeof session);
    w->on_message = serve;
    w->on_half = serve_end;
    if (ensign_create(&w->desc, &w->client, &w->why) != ENSIGN_OK) {
        assert_int_equal(w->why.code, ENSIGN_E_MEMORY);
        return false;
    }
    open_calls(w);
    opened = (session.stream != 0) + (session.unary != 0);
    while (session.ends < opened && turns++ < 20000) {
        const ensign_notice_t *n;
        bool moved = world_round(w);
        int t;
        while ((n = world_pull(w, 0)) != NULL) {
            note(w, n);
            moved = true;
        }
        t = ensign_timeout(w->client, w->now);
        if (!moved) w->now += t > 0 ? (uint64_t)t : 1;
        if (w->now > 600000) break;
    }
    if (session.ends < opened) world_fail(w, "a call tells nothing");
    return true;
}

static void again(world_t *w, const char *script)
{
    world_begin(w, WHOLE, world_base_seed());
    w->script = script;
}

static void well(void)
{
    assert_int_equal(session.messages, MESSAGES);
    assert_int_equal(session.replies, 1);
    assert_int_equal(session.failed, 0);
}

static void each_allocation_fails_once(void **state)
{
    world_t *w = &world;
    uint64_t total;
    int packed = 0;
    (void)state;
    memset(text, 't', sizeof text);
    again(w, "without a fault");
    assert_true(play(w));
    well();
    total = w->allocs;
    world_close(w);
    for (uint64_t n = 1; n <= total; n++) {
        char script[64];
        snprintf(script, sizeof script, "allocation %d of %d", (int)n, (int)total);
        again(w, script);
        w->fault = true;
        w->fail_at = n;
        if (play(w)) packed += session.packed;
        world_close(w);
    }
    assert_true(packed >= 3); /* the state, its window, the block */
    w->finished = true;
}

static void a_memory_limit_is_kept(void **state)
{
    world_t *w = &world;
    size_t limit, enough = 0;
    (void)state;
    memset(text, 't', sizeof text);
    for (limit = 200000; !enough; limit += 7000) {
        char script[64];
        bool all;
        snprintf(script, sizeof script, "memory_limit %zu", limit);
        again(w, script);
        w->fault = true;
        w->desc.memory_limit = limit;
        all = play(w) && session.messages == MESSAGES && session.replies == 1;
        assert_in_range(w->live_peak, 0, limit);
        if (all) enough = limit;
        world_close(w);
        assert_true(limit < 3000000);
    }
    well();
    w->finished = true;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(each_allocation_fails_once, script_after),
        cmocka_unit_test_teardown(a_memory_limit_is_kept, script_after),
    };
    return cmocka_run_group_tests_name("gzip", tests, NULL, NULL);
}
