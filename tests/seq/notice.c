/* Handles and notices: who is alive, what is told, in which order, and how long it stands. */
#include "peer.h"

static uint32_t call(world_t *w, void *user)
{
    ensign_call_desc_t d;
    memset(&d, 0, sizeof d);
    d.method = "/test.Service/Method";
    d.user = user;
    d.wait_for_ready = true;
    return ensign_call_open(w->client, &d).id;
}

static ensign_call_t as_call(uint32_t id)
{
    ensign_call_t k;
    k.id = id;
    return k;
}

static void check_dead(world_t *w, uint32_t id)
{
    ensign_stats_t stats;
    ensign_slice_t key, value;
    uint8_t *room = NULL;
    size_t at = 0;
    assert_int_equal(ensign_call_send(w->client, as_call(id), text_slice("x"), 0), ENSIGN_E_HANDLE);
    assert_int_equal(ensign_error(w->client)->code, ENSIGN_E_HANDLE);
    assert_true(ensign_error(w->client)->text[0] != 0);
    assert_int_equal(ensign_call_reserve(w->client, as_call(id), 1, &room), ENSIGN_E_HANDLE);
    assert_int_equal(ensign_call_commit(w->client, as_call(id), 0, 0), ENSIGN_E_HANDLE);
    assert_int_equal(ensign_call_half_close(w->client, as_call(id)), ENSIGN_E_HANDLE);
    assert_int_equal(ensign_close(w->client, id, 10), ENSIGN_E_HANDLE);
    assert_int_equal(ensign_cancel(w->client, id), ENSIGN_E_HANDLE);
    assert_int_equal(ensign_hold(w->client, id, true), ENSIGN_E_HANDLE);
    assert_int_equal(ensign_stats(w->client, id, &stats), ENSIGN_E_HANDLE);
    assert_null(ensign_next_of(w->client, id));
    assert_false(ensign_pending(w->client, id));
    assert_false(ensign_call_metadata_next(w->client, as_call(id), ENSIGN_HEADERS, &at, &key, &value));
    assert_false(ensign_call_metadata_get(w->client, as_call(id), ENSIGN_TRAILERS, "x", &value));
}

/* ------------------------------------------------------------------ handles */
SCRIPT(stale_handles_are_told_and_harmless)
{
    uint32_t old, now, i;
    ensign_publisher_t p;
    ensign_subscription_t s;
    ensign_event_t e;
    world_create(w);
    old = call(w, NULL);
    assert_int_not_equal(old, 0);
    assert_int_equal(ensign_forget(w->client, old), ENSIGN_OK);
    check_dead(w, old);
    assert_int_equal(ensign_forget(w->client, old), ENSIGN_OK);
    for (i = 0; i < 300; i++) {
        now = call(w, NULL);
        assert_int_not_equal(now, 0);
        assert_int_not_equal(now, old);
        assert_int_not_equal(now, ENSIGN_CLIENT);
        check_dead(w, old);
        assert_int_equal(ensign_forget(w->client, now), ENSIGN_OK);
    }
    for (i = 0; i < 64; i++) check_dead(w, (uint32_t)world_rand(w));
    assert_int_equal(ensign_call_send(w->client, as_call(ENSIGN_CLIENT), text_slice("x"), 0),
                     ENSIGN_E_HANDLE);
    assert_int_equal(ensign_close(w->client, 0, 10), ENSIGN_E_HANDLE);
    assert_int_equal(ensign_cancel(w->client, 0), ENSIGN_E_HANDLE);
    now = call(w, NULL);
    memset(&e, 0, sizeof e);
    p.id = s.id = now;
    assert_int_equal(ensign_publish(w->client, p, &e), ENSIGN_E_HANDLE);
    assert_int_equal(ensign_publisher_drain(w->client, p, 10), ENSIGN_E_HANDLE);
    assert_int_equal(ensign_ack(w->client, s, 1), ENSIGN_E_HANDLE);
    assert_int_equal(ensign_call_send(w->client, as_call(now), text_slice("x"), 0), ENSIGN_OK);
    assert_int_equal(ensign_close(w->client, now, 10), ENSIGN_OK); /* any handle will do */
    assert_int_equal(ensign_close(w->client, now, ENSIGN_FOREVER), ENSIGN_OK);
    assert_int_equal(ensign_call_send(w->client, as_call(now), text_slice("x"), 0), ENSIGN_E_STATE);
    world_pass(w, 10000); /* the second close has ended the time of the first */
    world_silent(w, now);
}

SCRIPT(a_last_notice_stands_until_the_next_pull)
{
    ensign_stats_t stats;
    ensign_slice_t v;
    const ensign_notice_t *n;
    uint32_t k, other;
    stream_t *s;
    world_create(w);
    k = call(w, NULL);
    other = call(w, NULL);
    s = world_stream(w, 0);
    peer_headers(s, "200", "content-type", "application/grpc", "x-h", "head", NULL);
    peer_message(s, "m", 1);
    peer_finish(s, 5, "none", "x-t", "tail", NULL);
    n = world_end(w, k, ENSIGN_GRPC_NOT_FOUND);
    world_hear(w);
    n = ensign_next_of(w->client, k);
    assert_null(n);
    k = call(w, NULL);
    s = world_stream(w, 2);
    peer_headers(s, "200", "content-type", "application/grpc", "x-h", "head", NULL);
    peer_message(s, "m", 1);
    peer_finish(s, 5, "none", "x-t", "tail", NULL);
    n = world_end(w, k, ENSIGN_GRPC_NOT_FOUND);
    world_settle(w);
    world_pass(w, 1000);
    assert_int_equal(n->type, ENSIGN_NOTICE_END);
    assert_text(n->as.end.text, "none");
    assert_true(ensign_call_metadata_get(w->client, as_call(k), ENSIGN_HEADERS, "x-h", &v));
    assert_text(v, "head");
    assert_true(ensign_call_metadata_get(w->client, as_call(k), ENSIGN_TRAILERS, "x-t", &v));
    assert_text(v, "tail");
    assert_int_equal(ensign_stats(w->client, k, &stats), ENSIGN_OK);
    assert_null(world_pull(w, other));
    check_dead(w, k);
    assert_int_equal(ensign_hold(w->client, other, false), ENSIGN_OK);
}

SCRIPT(forget_ends_in_silence)
{
    uint32_t k, other;
    stream_t *s, *t;
    world_create(w);
    k = call(w, NULL);
    other = call(w, NULL);
    s = world_stream(w, 0);
    t = world_stream(w, 1);
    peer_message(s, "one", 3);
    peer_message(t, "two", 3);
    world_settle(w);
    assert_true(ensign_pending(w->client, k));
    assert_int_equal(ensign_forget(w->client, k), ENSIGN_OK);
    check_dead(w, k);
    world_until(w, s->reset);
    world_expect(w, other, ENSIGN_NOTICE_HEADERS);
    assert_text(world_expect(w, other, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "two");
    world_hear(w);
    assert_null(world_pull(w, 0));
    k = call(w, NULL);
    assert_int_equal(ensign_forget(w->client, k), ENSIGN_OK);
    world_settle(w);
    assert_int_equal(w->stream_count, 2);
}

SCRIPT(forgetting_the_client_ends_all_in_silence)
{
    uint32_t k[3];
    size_t i;
    world_create(w);
    for (i = 0; i < 3; i++) k[i] = call(w, NULL);
    peer_message(world_stream(w, 0), "one", 3);
    peer_finish(world_stream(w, 1), 0, NULL, NULL);
    world_settle(w);
    assert_true(ensign_pending(w->client, 0));
    assert_int_equal(ensign_forget(w->client, ENSIGN_CLIENT), ENSIGN_OK);
    for (i = 0; i < 3; i++) check_dead(w, k[i]);
    world_settle(w);
    assert_false(ensign_pending(w->client, 0));
    assert_null(ensign_next(w->client));
    assert_null(w->conn[ENSIGN_LINK_RPC]);
    world_pass(w, 60000);
    assert_null(ensign_next(w->client));
    assert_int_equal(call(w, NULL), 0);
    assert_int_equal(ensign_error(w->client)->code, ENSIGN_E_STATE);
    assert_int_equal(w->dials[ENSIGN_LINK_RPC], 1);
}

SCRIPT(handles_are_counted)
{
    uint32_t k[4];
    size_t i;
    w->desc.max_handles = 4;
    world_create(w);
    for (i = 0; i < 4; i++) {
        k[i] = call(w, NULL);
        assert_int_not_equal(k[i], 0);
    }
    assert_int_equal(call(w, NULL), 0);
    assert_int_equal(ensign_error(w->client)->code, ENSIGN_E_LIMIT);
    assert_int_equal(ensign_forget(w->client, k[2]), ENSIGN_OK);
    assert_int_not_equal(call(w, NULL), 0);
    assert_int_equal(call(w, NULL), 0);
}

/* ------------------------------------------------------------------ order */
static void fill(world_t *w, stream_t *s, int count)
{
    int i;
    for (i = 0; i < count; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        peer_message(s, text, strlen(text));
    }
    world_settle(w);
}

SCRIPT(each_handle_has_its_turn)
{
    uint32_t k[3], seen[60];
    int user[3] = { 0, 1, 2 }, next[3] = { 0, 0, 0 };
    size_t i;
    world_create(w);
    for (i = 0; i < 3; i++) k[i] = call(w, &user[i]);
    for (i = 0; i < 3; i++) fill(w, world_stream(w, i), 20);
    world_hear(w);
    for (i = 0; i < 3; i++) world_expect(w, k[i], ENSIGN_NOTICE_HEADERS);
    for (i = 0; i < 60; i++) {
        const ensign_notice_t *n = ensign_next(w->client);
        char text[16];
        int u;
        assert_non_null(n);
        seen[i] = n->handle;
        u = *(int *)n->user;
        assert_int_equal(n->handle, k[u]);
        snprintf(text, sizeof text, "%d", next[u]++);
        assert_text(n->as.message.bytes, text);
        if (i >= 2)
            assert_true(seen[i] != seen[i - 1] && seen[i] != seen[i - 2] && seen[i - 1] != seen[i - 2]);
    }
    assert_null(ensign_next(w->client));
}

static size_t order_of(world_t *w, uint64_t seed, uint32_t *out, size_t cap)
{
    chunk_t mode = w->mode;
    const char *script = w->script;
    const ensign_notice_t *n;
    size_t i, count = 0;
    world_begin(w, mode, seed);
    w->script = script;
    world_create(w);
    for (i = 0; i < 5; i++) call(w, NULL);
    for (i = 0; i < 5; i++) fill(w, world_stream(w, i), 4);
    while (count < cap && (n = world_pull(w, 0)) != NULL)
        out[count++] = n->handle + (uint32_t)n->type * 1000003u;
    world_close(w);
    return count;
}

SCRIPT(a_seed_replays_the_order)
{
    uint32_t a[64], b[64];
    size_t n = order_of(w, 42, a, 64);
    assert_true(n >= 25);
    assert_int_equal(order_of(w, 42, b, 64), n);
    assert_memory_equal(a, b, n * sizeof a[0]);
    world_begin(w, w->mode, 42);
}

SCRIPT(hold_makes_next_pass_over)
{
    uint32_t held, other;
    const ensign_notice_t *n;
    world_create(w);
    held = call(w, NULL);
    other = call(w, NULL);
    fill(w, world_stream(w, 0), 3);
    fill(w, world_stream(w, 1), 3);
    world_hear(w);
    world_expect(w, held, ENSIGN_NOTICE_HEADERS);
    world_expect(w, other, ENSIGN_NOTICE_HEADERS);
    assert_int_equal(ensign_hold(w->client, held, true), ENSIGN_OK);
    while ((n = world_pull(w, 0)) != NULL) assert_int_equal(n->handle, other);
    assert_false(ensign_pending(w->client, 0));
    assert_true(ensign_pending(w->client, held));
    assert_false(ensign_pending(w->client, other));
    assert_int_not_equal(ensign_timeout(w->client, w->now), 0);
    assert_text(world_expect(w, held, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "0");
    assert_int_equal(ensign_hold(w->client, held, false), ENSIGN_OK);
    assert_true(ensign_pending(w->client, 0));
    assert_int_equal(ensign_timeout(w->client, w->now), 0);
    n = world_pull(w, 0);
    assert_non_null(n);
    assert_int_equal(n->handle, held);
    assert_text(n->as.message.bytes, "1");
    assert_int_equal(ensign_hold(w->client, ENSIGN_CLIENT, true), ENSIGN_OK);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    world_settle(w);
    while ((n = world_pull(w, 0)) != NULL) assert_true(n->handle != ENSIGN_CLIENT);
    world_expect(w, ENSIGN_CLIENT, ENSIGN_NOTICE_DISCONNECTED);
}

/* However often the link comes and goes, what waits of the client is bounded. */
SCRIPT(what_is_not_pulled_is_merged)
{
    uint32_t k;
    int i, n = 0;
    world_create(w);
    k = call(w, NULL);
    for (i = 0; i < 20; i++) {
        world_until(w, w->conn[ENSIGN_LINK_RPC] && w->conn[ENSIGN_LINK_RPC]->settings_acks);
        world_settle(w);
        world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
        world_settle(w);
        ensign_forget(w->client, k);
        k = call(w, NULL);
    }
    while (world_pull(w, ENSIGN_CLIENT)) n++;
    assert_in_range(n, 1, 4);
}

/* ------------------------------------------------------------------ waiting */
static ensign_call_desc_t patient(bool unary)
{
    ensign_call_desc_t d;
    memset(&d, 0, sizeof d);
    d.method = "/test.Service/Method";
    d.unary = unary;
    d.wait_for_ready = true;
    return d;
}

/* One WAITING, with that many failures in a row; then, however often the attempts fail, no other. */
static void waits_once(world_t *w, uint32_t handle, const char *words, uint32_t failures)
{
    unsigned before = w->waits, dials = w->dials[ENSIGN_LINK_RPC], resolves = w->resolves[ENSIGN_LINK_RPC];
    const ensign_notice_t *n = world_waiting(w, handle, words);
    assert_int_equal(n->as.waiting.failures, failures);
    assert_in_range(n->as.waiting.retry_in_ms, 1, 30000);
    assert_int_equal(w->waits, before + 1);
    world_until(w, w->dials[ENSIGN_LINK_RPC] >= dials + 3 || w->resolves[ENSIGN_LINK_RPC] >= resolves + 3);
    world_silent(w, handle);
    assert_int_equal(w->waits, before + 1);
}

/* A server that is down, whose name then is gone, and which is up at last. */
static void waits_for_a_server(world_t *w, uint32_t handle)
{
    world_until(w, w->dials[ENSIGN_LINK_RPC] >= 1);
    waits_once(w, handle, "cannot connect to localhost:5356", 1);
    w->resolve_fails = true;
    world_until(w, w->resolves[ENSIGN_LINK_RPC] > w->dials[ENSIGN_LINK_RPC]);
    world_settle(w);
    waits_once(w, handle, "has no address", w->dials[ENSIGN_LINK_RPC] + 1);
    w->resolve_fails = false;
    w->dial[ENSIGN_LINK_RPC] = DIAL_ACCEPT;
    world_stream(w, w->stream_count);
    world_silent(w, handle);
    assert_int_equal(w->waits, 2);
}

SCRIPT(a_streaming_call_waits_and_tells_each_reason_once)
{
    ensign_call_desc_t d = patient(false);
    uint32_t k;
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    world_create(w);
    k = ensign_call_open(w->client, &d).id;
    waits_for_a_server(w, k);
    peer_finish(w->streams[0], ENSIGN_GRPC_OK, NULL, NULL);
    world_expect(w, k, ENSIGN_NOTICE_HEADERS);
    assert_null(world_end(w, k, ENSIGN_GRPC_OK)->error);
    assert_int_equal(w->waits, 2);
}

SCRIPT(a_query_waits_and_tells_each_reason_once)
{
    ensign_query_desc_t d;
    uint32_t q;
    memset(&d, 0, sizeof d);
    d.sql = "SELECT * FROM weather";
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    world_create(w);
    q = ensign_query_open(w->client, &d).id;
    waits_for_a_server(w, q);
    peer_finish(w->streams[0], ENSIGN_GRPC_OK, NULL, NULL);
    assert_null(world_end(w, q, ENSIGN_GRPC_OK)->error);
    assert_int_equal(w->waits, 2);
}

/* What was not pulled while it was true is not told later. */
SCRIPT(waiting_is_withdrawn_when_the_server_answers)
{
    ensign_call_desc_t d = patient(false);
    uint32_t k;
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    world_create(w);
    k = ensign_call_open(w->client, &d).id;
    world_until(w, w->dials[ENSIGN_LINK_RPC] >= 1);
    world_settle(w);
    assert_true(ensign_pending(w->client, k));
    w->dial[ENSIGN_LINK_RPC] = DIAL_ACCEPT;
    peer_open(world_stream(w, 0));
    world_settle(w);
    world_expect(w, k, ENSIGN_NOTICE_HEADERS);
    world_silent(w, k);
    assert_int_equal(w->waits, 0);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    world_end(w, k, ENSIGN_GRPC_UNAVAILABLE);
    assert_int_equal(w->waits, 0);
}

/* A call that was there before the auth service failed hears of it, and so does one that comes later. */
SCRIPT(waiting_tells_of_the_auth_service)
{
    ensign_call_desc_t d = patient(false), u = patient(true);
    uint32_t early, late, quiet;
    w->auth_manual = true;
    world_create_with_key(w);
    early = ensign_call_open(w->client, &d).id;
    quiet = ensign_call_open(w->client, &u).id;
    world_until(w, w->auth_requests == 1);
    world_silent(w, early);
    auth_answer(w, 500, "");
    world_settle(w);
    assert_int_equal(world_waiting(w, early, "HTTP 500")->as.waiting.failures, 1);
    late = ensign_call_open(w->client, &d).id;
    world_waiting(w, late, "HTTP 500");
    world_until(w, w->auth_requests == 2);
    world_settle(w);
    auth_answer(w, 500, "");
    world_silent(w, early);
    world_silent(w, late);
    assert_int_equal(w->waits, 2);
    world_until(w, w->auth_requests == 3);
    world_settle(w);
    auth_answer(w, 429, "");
    world_settle(w);
    assert_int_equal(world_waiting(w, early, "HTTP 429")->as.waiting.failures, 3);
    world_waiting(w, late, "HTTP 429");
    world_silent(w, quiet);
    assert_int_equal(w->waits, 4);
}

/* A unary call, and a request, have their answer and nothing before it. */
SCRIPT(unary_calls_and_requests_wait_in_silence)
{
    ensign_call_desc_t d = patient(true);
    uint32_t k, r, create;
    w->desc.request_timeout_ms = ENSIGN_FOREVER;
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    world_create(w);
    k = ensign_call_open(w->client, &d).id;
    r = ensign_topic_list(w->client, NULL).id;
    create = ensign_topic_create(w->client, "weather", NULL, NULL).id;
    world_until(w, w->dials[ENSIGN_LINK_RPC] >= 3);
    world_silent(w, k);
    world_silent(w, r);
    world_silent(w, create);
    w->resolve_fails = true;
    world_until(w, w->resolves[ENSIGN_LINK_RPC] > w->dials[ENSIGN_LINK_RPC] + 2);
    world_silent(w, k);
    world_silent(w, r);
    world_silent(w, create);
    w->resolve_fails = false;
    w->dial[ENSIGN_LINK_RPC] = DIAL_ACCEPT;
    peer_message(world_stream(w, 0), "a", 1);
    peer_finish(w->streams[0], ENSIGN_GRPC_OK, NULL, NULL);
    peer_message(world_stream(w, 1), "", 0);
    peer_finish(w->streams[1], ENSIGN_GRPC_OK, NULL, NULL);
    assert_text(world_reply(w, k, ENSIGN_GRPC_OK)->as.reply.message, "a");
    assert_null(world_end(w, r, ENSIGN_GRPC_OK)->error);
    peer_refuse(world_stream(w, 2), ENSIGN_GRPC_ALREADY_EXISTS, "there");
    assert_text(world_expect(w, create, ENSIGN_NOTICE_END)->as.end.text, "there");
    assert_int_equal(w->waits, 0);
}

/* ------------------------------------------------------------------ lifetime */
SCRIPT(a_notice_stands_whatever_happens_meanwhile)
{
    const ensign_notice_t *n;
    ensign_notice_t copy;
    uint8_t bytes[1500];
    uint32_t k, other;
    stream_t *s, *t;
    size_t i;
    world_create(w);
    k = call(w, NULL);
    other = call(w, NULL);
    s = world_stream(w, 0);
    t = world_stream(w, 1);
    memset(bytes, 'q', sizeof bytes);
    for (i = 0; i < 60; i++) peer_message(s, bytes, sizeof bytes);
    n = world_await(w, k, ENSIGN_NOTICE_MESSAGE);
    copy = *n;
    fill(w, t, 10);
    world_await(w, other, ENSIGN_NOTICE_MESSAGE);
    while (world_pull(w, other)) {}
    assert_memory_equal(n, &copy, sizeof copy);
    assert_slice(n->as.message.bytes, bytes, sizeof bytes);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    world_pass(w, 5000);
    world_end(w, other, ENSIGN_GRPC_UNAVAILABLE);
    assert_slice(n->as.message.bytes, bytes, sizeof bytes);
    other = call(w, NULL);
    world_stream(w, 2);
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 100), ENSIGN_OK);
    assert_int_not_equal(world_await(w, other, ENSIGN_NOTICE_END)->as.end.status, ENSIGN_GRPC_OK);
    world_pass(w, 1000);
    assert_memory_equal(n, &copy, sizeof copy);
    assert_slice(n->as.message.bytes, bytes, sizeof bytes);
}

/* Asking in vain pulls no notice, so the last one stands. */
SCRIPT(a_notice_stands_when_there_is_no_next)
{
    const ensign_notice_t *n;
    ensign_notice_t copy;
    uint8_t bytes[1500];
    uint32_t k;
    stream_t *s;
    size_t i;
    world_create(w);
    k = call(w, NULL);
    s = world_stream(w, 0);
    memset(bytes, 'q', sizeof bytes);
    peer_message(s, bytes, sizeof bytes);
    n = world_await(w, k, ENSIGN_NOTICE_MESSAGE);
    copy = *n;
    world_hear(w);
    assert_null(ensign_next(w->client));
    assert_null(ensign_next_of(w->client, k));
    memset(bytes, 'z', sizeof bytes);
    for (i = 0; i < 60; i++) peer_message(s, bytes, sizeof bytes);
    world_settle(w);
    assert_memory_equal(n, &copy, sizeof copy);
    memset(bytes, 'q', sizeof bytes);
    assert_slice(n->as.message.bytes, bytes, sizeof bytes);
}

/* ------------------------------------------------------------------ against a model */
enum { LIVE = 12, OPS = 1500 };
typedef struct {
    uint32_t id;
    size_t stream;
    bool open, held, got_headers, want_headers, cancelled, finished, pulled_last;
    int sent, pulled, status;
} model_t;

static model_t *model_of(model_t *m, uint32_t id)
{
    size_t i;
    for (i = 0; i < LIVE; i++) {
        if (m[i].open && m[i].id == id) return &m[i];
    }
    return NULL;
}

static bool model_waits(const model_t *x)
{
    return x->open && !x->pulled_last &&
           (x->cancelled || x->finished || x->want_headers != x->got_headers || x->pulled < x->sent);
}

static void model_check(world_t *w, model_t *x, const ensign_notice_t *n)
{
    char text[16];
    assert_ptr_equal(n->user, x);
    if (n->type == ENSIGN_NOTICE_HEADERS) {
        if (x->got_headers || !x->want_headers) world_fail(w, "HEADERS twice or for nothing");
        x->got_headers = true;
        return;
    }
    if (n->type == ENSIGN_NOTICE_MESSAGE) {
        assert_false(x->cancelled && !x->finished);
        assert_true(x->got_headers);
        snprintf(text, sizeof text, "%d", x->pulled++);
        assert_text(n->as.message.bytes, text);
        assert_true(x->pulled <= x->sent);
        return;
    }
    assert_int_equal(n->type, ENSIGN_NOTICE_END);
    assert_true(n->last);
    assert_int_equal(n->as.end.status, x->status);
    if (!x->cancelled) assert_int_equal(x->pulled, x->sent);
    x->pulled_last = true;
}

static void model_reap(world_t *w, model_t *m, const model_t *but)
{
    size_t i;
    for (i = 0; i < LIVE; i++) {
        if (m[i].open && m[i].pulled_last && &m[i] != but) {
            m[i].open = false;
            check_dead(w, m[i].id);
        }
    }
}

static void model_pull(world_t *w, model_t *m, uint32_t id)
{
    const ensign_notice_t *n;
    model_t *x;
    bool any = false;
    size_t i;
    world_hear(w);
    model_reap(w, m, NULL);
    x = id ? model_of(m, id) : NULL;
    if (id && !x) return;
    for (i = 0; i < LIVE; i++) any |= model_waits(&m[i]) && !m[i].held;
    if (x) any = model_waits(x);
    assert_int_equal(ensign_pending(w->client, id), any);
    n = world_pull(w, id);
    if (!any) {
        assert_null(n);
        return;
    }
    assert_non_null(n);
    x = model_of(m, n->handle);
    if (!x) world_fail(w, "a notice of type %d of a handle that the model does not know", (int)n->type);
    if (!id) assert_false(x->held);
    model_check(w, x, n);
}

static void model_open(world_t *w, model_t *x)
{
    memset(x, 0, sizeof *x);
    x->open = true;
    x->id = call(w, x);
    assert_int_not_equal(x->id, 0);
    world_settle(w);
    x->stream = w->stream_count - 1;
}

static void model_server(world_t *w, model_t *x, bool end)
{
    stream_t *s = w->streams[x->stream];
    char text[16];
    if (s->closed || s->done || x->sent > 40) return;
    if (end) {
        x->finished = !x->cancelled;
        x->status = ENSIGN_GRPC_DATA_LOSS;
        peer_finish(s, ENSIGN_GRPC_DATA_LOSS, "end", NULL);
    } else {
        snprintf(text, sizeof text, "%d", x->sent++);
        peer_message(s, text, strlen(text));
    }
    x->want_headers = true;
    world_settle(w);
}

static void model_step(world_t *w, model_t *m)
{
    model_t *x = &m[world_below(w, LIVE)];
    uint32_t op = world_below(w, 12);
    bool on = world_below(w, 2) != 0;
    if (op < 3) {
        model_pull(w, m, 0);
    } else if (!x->open) {
        model_open(w, x);
    } else if (op < 5) {
        model_pull(w, m, x->id);
    } else if (x->pulled_last) {
        return;
    } else if (op < 9) {
        if (!x->cancelled) model_server(w, x, world_below(w, 6) == 0);
    } else if (op == 9) {
        assert_int_equal(ensign_hold(w->client, x->id, on), ENSIGN_OK);
        x->held = on;
    } else if (op == 10 && world_below(w, 3) == 0) {
        assert_int_equal(ensign_forget(w->client, x->id), ENSIGN_OK);
        x->open = false;
        check_dead(w, x->id);
        world_settle(w);
    } else if (op == 11 && world_below(w, 3) == 0 && !x->finished && !x->cancelled) {
        assert_int_equal(ensign_cancel(w->client, x->id), ENSIGN_OK);
        x->cancelled = true;
        x->status = ENSIGN_GRPC_CANCELLED;
        world_settle(w);
    }
}

SCRIPT(random_operations_against_a_model)
{
    static model_t m[LIVE];
    int i;
    memset(m, 0, sizeof m);
    world_create(w);
    for (i = 0; i < OPS; i++) model_step(w, m);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(stale_handles_are_told_and_harmless),
        IN_MODES(a_last_notice_stands_until_the_next_pull),
        IN_MODES(forget_ends_in_silence),
        IN_MODES(forgetting_the_client_ends_all_in_silence),
        IN_MODES(handles_are_counted),
        IN_MODES(each_handle_has_its_turn),
        IN_MODES(a_seed_replays_the_order),
        IN_MODES(hold_makes_next_pass_over),
        IN_MODES(what_is_not_pulled_is_merged),
        IN_MODES(a_streaming_call_waits_and_tells_each_reason_once),
        IN_MODES(a_query_waits_and_tells_each_reason_once),
        IN_MODES(waiting_is_withdrawn_when_the_server_answers),
        IN_MODES(waiting_tells_of_the_auth_service),
        IN_MODES(unary_calls_and_requests_wait_in_silence),
        IN_MODES(a_notice_stands_whatever_happens_meanwhile),
        IN_MODES(a_notice_stands_when_there_is_no_next),
        IN_MODES(random_operations_against_a_model),
    };
    return cmocka_run_group_tests_name("notice", tests, NULL, NULL);
}
