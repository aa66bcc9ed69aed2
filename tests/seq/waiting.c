/* Nothing waits in silence: a stream that is refused, broken off or never reached says why, once for each reason,
 * in a WAITING notice of its own handle, and in the log; OPEN ends that. */
#include "service.h"

typedef enum { PUBLISHER, SUBSCRIPTION, WATCH, KINDS } kind_t;
static const char *const kind_names[KINDS] = { "publisher", "subscription", "watch" };

static unsigned warnings;
static char last_warning[400];

static void on_log(void *user, int level, const char *text)
{
    (void)user;
    if (level != ENSIGN_LOG_WARNING || !strstr(text, " waits: ")) return;
    warnings++;
    snprintf(last_warning, sizeof last_warning, "%s", text);
}

static void begin(world_t *w)
{
    warnings = 0;
    w->desc.log = on_log;
    world_create(w);
}

static uint32_t opened(world_t *w, kind_t kind)
{
    static const char *const topics[] = { "weather" };
    ensign_publisher_desc_t p;
    ensign_subscription_desc_t s;
    memset(&p, 0, sizeof p);
    memset(&s, 0, sizeof s);
    p.topic = topics[0];
    s.topics = topics;
    s.topic_count = 1;
    s.window_bytes = 65536; /* so that little memory will do */
    if (kind == PUBLISHER) return ensign_publisher_open(w->client, &p).id;
    if (kind == SUBSCRIPTION) return ensign_subscription_open(w->client, &s).id;
    return ensign_health(w->client, "", true, NULL).id;
}

/* The server takes the stream. */
static void serve(world_t *w, kind_t kind, stream_t *s)
{
    bytes_t reply = {0};
    if (kind != WATCH) {
        world_request(w, s);
        service_ready(s, kind == PUBLISHER ? 3 : 2);
        return;
    }
    enc_uint(&reply, 1, ENSIGN_HEALTH_SERVING);
    peer_send(s, &reply);
}

static void stands(world_t *w, kind_t kind, uint32_t handle)
{
    world_expect(w, handle, kind == WATCH ? ENSIGN_NOTICE_HEALTH : ENSIGN_NOTICE_OPEN);
}

/* ------------------------------------------------------------------ ways to refuse a stream, none of them final */
static void http_403(stream_t *s) { peer_only(s, "403", "content-type", "text/html", NULL); }
static void http_404(stream_t *s) { peer_only(s, "404", "content-type", "text/html", NULL); }
/* A page that is another one each time. */
static void page(stream_t *s, const char *http_status)
{
    static unsigned count;
    char text[40];
    snprintf(text, sizeof text, "<p>busy</p>\r\n\r\nask %u", ++count);
    peer_headers(s, http_status, "content-type", "text/html", NULL);
    peer_raw(s, text, strlen(text));
    peer_finish_bare(s);
}

static void http_503(stream_t *s) { page(s, "503"); }
static void no_grpc(stream_t *s) { page(s, "200"); }
static void no_status(stream_t *s) { peer_only(s, "200", "content-type", "application/grpc", NULL); }
static void unavailable(stream_t *s) { peer_refuse(s, ENSIGN_GRPC_UNAVAILABLE, "in maintenance"); }
static void internal(stream_t *s) { peer_refuse(s, ENSIGN_GRPC_INTERNAL, "oops"); }
static void exhausted(stream_t *s) { peer_refuse(s, ENSIGN_GRPC_RESOURCE_EXHAUSTED, "too many"); }
static void cancelled(stream_t *s) { peer_refuse(s, ENSIGN_GRPC_CANCELLED, "shutting down"); }
static void unknown(stream_t *s) { peer_refuse(s, ENSIGN_GRPC_UNKNOWN, "who knows"); }
static void late(stream_t *s) { peer_refuse(s, ENSIGN_GRPC_DEADLINE_EXCEEDED, "the database is slow"); }
static void aborted(stream_t *s) { peer_refuse(s, ENSIGN_GRPC_ABORTED, "another one was first"); }
static void data_loss(stream_t *s) { peer_refuse(s, ENSIGN_GRPC_DATA_LOSS, "a disk is gone"); }
static void well(stream_t *s) { peer_refuse(s, ENSIGN_GRPC_OK, ""); }
static void reset_internal(stream_t *s) { peer_reset(s, NGHTTP2_INTERNAL_ERROR); }
static void reset_refused(stream_t *s) { peer_reset(s, NGHTTP2_REFUSED_STREAM); }
static void reset_calm(stream_t *s) { peer_reset(s, NGHTTP2_ENHANCE_YOUR_CALM); }

/* `status`: of a call that is not opened again, and ends for it. */
static const struct refusal_t {
    const char *name;
    void (*refuse)(stream_t *s);
    const char *words;
    int status;
} refusals[] = {
    { "HTTP 403", http_403, "HTTP status 403", ENSIGN_GRPC_PERMISSION_DENIED },
    { "HTTP 404", http_404, "HTTP status 404", ENSIGN_GRPC_UNIMPLEMENTED },
    { "HTTP 503", http_503, "HTTP status 503: busy ask ", ENSIGN_GRPC_UNAVAILABLE },
    { "no gRPC", no_grpc, "without content-type application/grpc: busy ask ",
      ENSIGN_GRPC_UNKNOWN },
    { "no status", no_status, "ended without a grpc-status", ENSIGN_GRPC_UNKNOWN },
    { "CANCELLED", cancelled, "CANCELLED: shutting down", ENSIGN_GRPC_CANCELLED },
    { "UNKNOWN", unknown, "UNKNOWN: who knows", ENSIGN_GRPC_UNKNOWN },
    { "DEADLINE_EXCEEDED", late, "DEADLINE_EXCEEDED: the database is slow", ENSIGN_GRPC_DEADLINE_EXCEEDED },
    { "RESOURCE_EXHAUSTED", exhausted, "RESOURCE_EXHAUSTED: too many", ENSIGN_GRPC_RESOURCE_EXHAUSTED },
    { "ABORTED", aborted, "ABORTED: another one was first", ENSIGN_GRPC_ABORTED },
    { "INTERNAL", internal, "INTERNAL: oops", ENSIGN_GRPC_INTERNAL },
    { "UNAVAILABLE", unavailable, "UNAVAILABLE: in maintenance", ENSIGN_GRPC_UNAVAILABLE },
    { "DATA_LOSS", data_loss, "DATA_LOSS: a disk is gone", ENSIGN_GRPC_DATA_LOSS },
    { "OK", well, "ended", ENSIGN_GRPC_OK },
    { "RST_STREAM INTERNAL_ERROR", reset_internal, "INTERNAL_ERROR", ENSIGN_GRPC_INTERNAL },
    { "RST_STREAM REFUSED_STREAM", reset_refused, "REFUSED_STREAM", ENSIGN_GRPC_UNAVAILABLE },
    { "RST_STREAM ENHANCE_YOUR_CALM", reset_calm, "ENHANCE_YOUR_CALM", ENSIGN_GRPC_RESOURCE_EXHAUSTED },
};

/* So many attempts fail in this way; one whose stream was REFUSED is a failure when a second one is, too. */
static void refuse_all(world_t *w, const struct refusal_t *r, size_t *at, size_t attempts)
{
    for (size_t count = r->refuse == reset_refused ? 2 * attempts : attempts; count > 0; count--) {
        r->refuse(world_stream(w, (*at)++));
        world_settle(w);
    }
}

SCRIPT(each_refusal_is_told_once_until_it_changes)
{
    for (int kind = 0; kind < KINDS; kind++) {
        for (size_t i = 0; i < COUNT(refusals); i++) {
            const struct refusal_t *r = &refusals[i], *other = &refusals[(i + 1) % COUNT(refusals)];
            const ensign_notice_t *n;
            size_t at = 0;
            uint32_t handle;
            world_begin(w, w->mode, w->seed);
            w->script = r->name;
            begin(w);
            handle = opened(w, (kind_t)kind);
            refuse_all(w, r, &at, 1);
            n = world_waiting(w, handle, r->words);
            assert_int_equal(n->as.waiting.failures, 1);
            assert_true(n->as.waiting.retry_in_ms <= 100); /* backoff_min_ms */
            assert_false(n->last);
            assert_int_equal(warnings, 1);
            if (!strstr(last_warning, r->words) || !strstr(last_warning, kind_names[kind]))
                world_fail(w, "the log says: %s", last_warning);
            refuse_all(w, r, &at, 3);
            world_silent(w, handle); /* the same reason */
            assert_int_equal(w->waits, 1);
            refuse_all(w, other, &at, 1);
            assert_int_equal(world_waiting(w, handle, other->words)->as.waiting.failures, 5);
            serve(w, (kind_t)kind, world_stream(w, at));
            stands(w, (kind_t)kind, handle);
            world_silent(w, handle);
            assert_int_equal(w->waits, 2);
            world_free(w);
        }
    }
    world_begin(w, w->mode, w->seed);
}

/* A stream that stood, and is broken off so, is told as one that was refused. */
SCRIPT(each_break_of_a_stream_that_stood_is_told)
{
    for (int kind = 0; kind < KINDS; kind++) {
        for (size_t i = 0; i < COUNT(refusals); i++) {
            const struct refusal_t *r = &refusals[i];
            stream_t *s;
            uint32_t handle;
            if (strstr(r->name, "HTTP") || strstr(r->name, "no ") || strstr(r->name, "RST")) continue;
            world_begin(w, w->mode, w->seed);
            w->script = r->name;
            begin(w);
            handle = opened(w, (kind_t)kind);
            s = world_stream(w, 0);
            serve(w, (kind_t)kind, s);
            stands(w, (kind_t)kind, handle);
            peer_finish(s, r->status, strstr(r->words, ": ") ? strstr(r->words, ": ") + 2 : "", NULL);
            world_settle(w);
            assert_int_equal(world_waiting(w, handle, r->words)->as.waiting.failures, 1);
            serve(w, (kind_t)kind, world_stream(w, 1));
            while (world_next(w, handle)->type == ENSIGN_NOTICE_GAP) continue;
            world_silent(w, handle);
            assert_int_equal(w->waits, 1);
            world_free(w);
        }
    }
    world_begin(w, w->mode, w->seed);
}

/* What is not opened again ends with it, at once and without a WAITING. */
SCRIPT(each_refusal_ends_a_query_and_a_call)
{
    ensign_call_desc_t d;
    ensign_query_desc_t q;
    size_t at = 0;
    memset(&d, 0, sizeof d);
    memset(&q, 0, sizeof q);
    d.method = "/test.Service/Method";
    q.sql = "SELECT * FROM weather";
    begin(w);
    for (size_t i = 0; i < COUNT(refusals); i++) {
        const struct refusal_t *r = &refusals[i];
        for (int query = 0; query < 2; query++) {
            uint32_t handle = query ? ensign_query_open(w->client, &q).id : ensign_call_open(w->client, &d).id;
            const ensign_notice_t *n;
            refuse_all(w, r, &at, 1);
            n = world_end(w, handle, r->status);
            assert_int_equal(n->error != NULL, r->status != ENSIGN_GRPC_OK);
            if (n->error && !strstr(n->error->text, r->words))
                world_fail(w, "%s: END says %s", r->name, n->error->text);
        }
    }
    assert_int_equal(w->waits, 0);
    world_pass(w, 60000);
    assert_int_equal(w->stream_count, at);
}

/* The connection's fault is the reason of each handle that waits for it. */
SCRIPT(a_server_that_is_down)
{
    uint32_t handle[KINDS];
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    begin(w);
    for (int kind = 0; kind < KINDS; kind++) handle[kind] = opened(w, (kind_t)kind);
    for (int kind = 0; kind < KINDS; kind++) {
        const ensign_notice_t *n = world_waiting(w, handle[kind], "cannot connect to localhost:5356");
        assert_int_equal(n->error->code, ENSIGN_E_CONNECT);
        assert_true(n->as.waiting.failures >= 1);
    }
    world_until(w, w->dials[ENSIGN_LINK_RPC] >= 5);
    for (int kind = 0; kind < KINDS; kind++) world_silent(w, handle[kind]);
    w->dial[ENSIGN_LINK_RPC] = DIAL_SILENT;
    for (int kind = 0; kind < KINDS; kind++) world_waiting(w, handle[kind], "no connection");
    w->dial[ENSIGN_LINK_RPC] = DIAL_ACCEPT;
    world_until(w, w->stream_count == KINDS);
    for (size_t i = 0; i < KINDS; i++) {
        stream_t *s = world_stream(w, i);
        const char *path = peer_field(s, ":path");
        kind_t kind = strstr(path, "Watch") ? WATCH : strstr(path, "Publish") ? PUBLISHER : SUBSCRIPTION;
        serve(w, kind, s);
        stands(w, kind, handle[kind]);
        world_silent(w, handle[kind]);
    }
}

/* One that is opened while the connection is in backoff need not wait for the next failure to be told. */
SCRIPT(a_handle_that_comes_late_is_told_at_once)
{
    uint32_t first, late;
    uint64_t began;
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    w->desc.backoff_min_ms = w->desc.backoff_max_ms = 60000;
    begin(w);
    first = opened(w, SUBSCRIPTION);
    world_waiting(w, first, "cannot connect");
    late = opened(w, PUBLISHER);
    began = w->now;
    world_waiting(w, late, "cannot connect");
    assert_true(w->now - began < 100);
}

/* Of WAITING and OPEN only the newer one is pending, and an end takes both along. */
SCRIPT(the_newer_of_waiting_and_open)
{
    uint32_t handle;
    begin(w);
    handle = opened(w, SUBSCRIPTION);
    http_404(world_stream(w, 0));
    world_settle(w);
    serve(w, SUBSCRIPTION, world_stream(w, 1));
    world_settle(w);
    stands(w, SUBSCRIPTION, handle); /* WAITING is over before it was told */
    assert_int_equal(w->waits, 0);
    world_silent(w, handle);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    world_settle(w);
    serve(w, SUBSCRIPTION, world_stream(w, 2));
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    world_settle(w);
    world_waiting(w, handle, "is gone"); /* and so is that OPEN */
}

/* give_up_after_ms makes an end of it, with the last reason. */
SCRIPT(giving_up_tells_the_last_reason)
{
    const ensign_notice_t *n;
    uint32_t handle;
    size_t at = 0;
    w->desc.give_up_after_ms = 5000;
    begin(w);
    handle = opened(w, SUBSCRIPTION);
    for (;;) {
        w->waited_ms = 0;
        while (!(n = world_pull(w, handle)) && w->stream_count <= at) world_advance(w, "a stream or END");
        if (n) break;
        internal(world_stream(w, at++));
    }
    assert_int_equal(n->type, ENSIGN_NOTICE_END);
    assert_int_equal(n->error->code, ENSIGN_E_INTERNAL);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_UNAVAILABLE);
    assert_true(at > 3);
}

/* What is final at the open is no reason to end a stream that has stood. */
SCRIPT(invalid_argument_is_final_only_at_the_open)
{
    for (kind_t kind = 0; kind < KINDS; kind++) {
        uint32_t handle;
        world_begin(w, w->mode, w->seed);
        w->script = kind_names[kind];
        begin(w);
        handle = opened(w, kind);
        serve(w, kind, world_stream(w, 0));
        stands(w, kind, handle);
        peer_finish(w->streams[0], ENSIGN_GRPC_INVALID_ARGUMENT, "oops", NULL);
        world_waiting(w, handle, "INVALID_ARGUMENT: oops");
        peer_refuse(world_stream(w, 1), ENSIGN_GRPC_INVALID_ARGUMENT, "no such thing");
        world_end(w, handle, ENSIGN_GRPC_INVALID_ARGUMENT);
        world_pass(w, 60000);
        assert_int_equal(w->stream_count, 2);
        world_free(w);
    }
    world_begin(w, w->mode, w->seed);
}

/* ------------------------------------------------------------------ a server that takes the stream and is mute */
static void stalls(world_t *w, kind_t kind, uint32_t limit_ms)
{
    uint32_t handle = opened(w, kind);
    const ensign_notice_t *n;
    uint64_t began;
    world_request(w, world_stream(w, 0));
    began = w->now;
    world_pass(w, limit_ms - 100);
    world_silent(w, handle);
    n = world_waiting(w, handle, "open_timeout_ms");
    assert_int_equal(n->error->code, ENSIGN_E_STALLED);
    assert_int_equal(n->as.waiting.failures, 1);
    assert_in_range(w->now - began, limit_ms, limit_ms + 20);
    world_stream(w, 1);
    assert_int_equal(w->streams[0]->reset_code, NGHTTP2_CANCEL);
    assert_int_equal(w->conn_count, 1); /* it is the stream that ends, not the connection */
    began = w->now;
    world_stream(w, 2);
    assert_in_range(w->now - began, limit_ms, limit_ms + 220);
    serve(w, kind, w->streams[2]);
    stands(w, kind, handle);
    world_pass(w, 2 * limit_ms);
    world_silent(w, handle); /* a stream that stands has no such limit */
    assert_int_equal(w->stream_count, 3);
    assert_int_equal(w->waits, 1);
}

SCRIPT(a_stream_that_is_never_answered_is_opened_again)
{
    for (int kind = 0; kind < KINDS; kind++) {
        for (int given = 0; given < 2; given++) {
            world_begin(w, w->mode, w->seed);
            w->script = kind_names[kind];
            w->desc.open_timeout_ms = given ? 5000 : 0;
            begin(w);
            stalls(w, (kind_t)kind, given ? 5000 : 30000);
            world_free(w);
        }
    }
    world_begin(w, w->mode, w->seed);
}

SCRIPT(a_stream_without_a_limit_waits_for_ever)
{
    uint32_t handle[KINDS];
    w->desc.open_timeout_ms = ENSIGN_FOREVER;
    begin(w);
    for (int kind = 0; kind < KINDS; kind++) handle[kind] = opened(w, (kind_t)kind);
    world_pass(w, 3600000);
    for (int kind = 0; kind < KINDS; kind++) world_silent(w, handle[kind]);
    assert_int_equal(w->stream_count, KINDS);
    assert_int_equal(w->waits, 0);
}

/* The time of a stream that waits for the connection is not the server's. */
SCRIPT(a_stream_that_is_not_sent_is_no_stall)
{
    uint32_t handle;
    w->dial[ENSIGN_LINK_RPC] = DIAL_SILENT;
    w->desc.connect_timeout_ms = ENSIGN_FOREVER;
    begin(w);
    handle = opened(w, SUBSCRIPTION);
    world_pass(w, 60000);
    w->dial[ENSIGN_LINK_RPC] = DIAL_ACCEPT;
    world_stream(w, 0);
    world_pass(w, 29000);
    serve(w, SUBSCRIPTION, w->streams[0]);
    stands(w, SUBSCRIPTION, handle);
    assert_int_equal(w->waits, 0);
}

/* A page without an end hides no HTTP status: the handle hears of it at open_timeout_ms, or when enough came. */
static void endless(world_t *w, kind_t kind, size_t bytes, uint32_t within_ms)
{
    char text[200];
    uint64_t began;
    uint32_t handle = opened(w, kind);
    stream_t *s = world_stream(w, 0);
    memset(text, 'x', sizeof text);
    began = w->now;
    peer_headers(s, "403", "content-type", "text/html", NULL);
    peer_raw(s, text, bytes);
    world_waiting(w, handle, "HTTP status 403: xxx");
    assert_in_range(w->now - began, 0, within_ms);
    world_until(w, s->reset);
}

SCRIPT(a_page_without_an_end_is_told)
{
    for (int kind = 0; kind < KINDS; kind++) {
        for (int more = 0; more < 2; more++) {
            world_begin(w, w->mode, w->seed);
            w->script = kind_names[kind];
            begin(w);
            endless(w, (kind_t)kind, more ? 200 : 20, more ? 0 : 30020);
            world_free(w);
        }
    }
    world_begin(w, w->mode, w->seed);
}

/* A state that came before the break is given before WAITING: the later truth comes last. */
SCRIPT(waiting_comes_behind_an_older_state)
{
    uint32_t handle;
    begin(w);
    handle = opened(w, WATCH);
    serve(w, WATCH, world_stream(w, 0));
    world_settle(w);
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    world_settle(w);
    assert_int_equal(ensign_next_of(w->client, handle)->type, ENSIGN_NOTICE_HEALTH);
    assert_int_equal(ensign_next_of(w->client, handle)->type, ENSIGN_NOTICE_WAITING);
    assert_null(ensign_next_of(w->client, handle));
}

/* ------------------------------------------------------------------ while the connection stands */
SCRIPT(no_room_among_the_streams)
{
    const ensign_notice_t *n;
    world_setting(w, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0);
    begin(w);
    for (kind_t kind = 0; kind < KINDS; kind++) {
        uint32_t handle = opened(w, kind);
        n = world_waiting(w, handle, "MAX_CONCURRENT_STREAMS");
        assert_int_equal(n->error->code, ENSIGN_E_RESOURCE_EXHAUSTED);
        world_pass(w, 3600000);
        world_silent(w, handle);
    }
}

/* There is no memory for a second connection. */
SCRIPT(behind_a_goaway)
{
    uint32_t first, handle;
    w->desc.memory_limit = 500000;
    begin(w);
    first = opened(w, PUBLISHER);
    serve(w, PUBLISHER, world_stream(w, 0));
    stands(w, PUBLISHER, first);
    ensign_close(w->client, first, ENSIGN_FOREVER);
    peer_goaway(w, 1, 0, "");
    world_settle(w);
    handle = opened(w, SUBSCRIPTION);
    assert_int_equal(world_waiting(w, handle, "GOAWAY")->error->code, ENSIGN_E_GOAWAY);
    service_close(world_stream(w, 0));
    serve(w, SUBSCRIPTION, world_stream(w, 1));
    stands(w, SUBSCRIPTION, handle);
}

/* Two reasons come by turns with every attempt, and the second one alone is ever seen. */
static void away(world_t *w, stream_t *s)
{
    (void)s;
    if (w->conn[0] && !w->conn[0]->goaway) peer_goaway_notice(w);
}

SCRIPT(one_reason_is_not_told_again)
{
    uint32_t handle;
    w->on_headers = away;
    begin(w);
    handle = opened(w, SUBSCRIPTION);
    for (int i = 0; i < 5; i++) {
        while (world_pull(w, handle)) {}
        world_hear(w);
        world_pass(w, 2000);
    }
    assert_true(w->waits <= 2);
}

SCRIPT(a_connection_that_ended_well_is_no_reason)
{
    uint32_t handle;
    begin(w);
    handle = opened(w, PUBLISHER);
    serve(w, PUBLISHER, world_stream(w, 0));
    stands(w, PUBLISHER, handle);
    ensign_forget(w->client, handle);
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, 0);
    world_pass(w, 3600000);
    handle = opened(w, SUBSCRIPTION);
    ensign_tick(w->client, w->now);
    assert_false(ensign_pending(w->client, handle));
}

/* What is asked when the auth service has come back has its answer: a later failure is told again. */
static void answer(world_t *w, stream_t *s, ensign_slice_t m)
{
    bytes_t reply = {0};
    if (strstr(peer_field(s, ":path"), "/Publish")) {
        service_publish(w, s, m);
        return;
    }
    enc_text(&reply, 1, "looked");
    peer_send(s, &reply);
    peer_finish(s, 0, NULL, NULL);
}

static void put(world_t *w, uint32_t id, const char *topic)
{
    ensign_publisher_t p;
    ensign_event_t e;
    p.id = id;
    memset(&e, 0, sizeof e);
    e.topic = topic;
    e.data = text_slice("x");
    assert_int_equal(ensign_publish(w->client, p, &e), ENSIGN_OK);
}

SCRIPT(a_question_that_waited_for_auth)
{
    static const char *const topics[] = { "void1", "void2" };
    uint32_t handle;
    w->access_s = 600;
    w->refresh_s = 700;
    w->overlap_s = 100;
    service.ack = true;
    w->on_message = answer;
    world_create_with_key(w);
    handle = opened(w, PUBLISHER);
    put(w, handle, "weather");
    world_await(w, handle, ENSIGN_NOTICE_ACK);
    for (int i = 0; i < 2; i++) {
        w->dial[ENSIGN_LINK_AUTH] = DIAL_REFUSE;
        world_pass(w, 800000);
        put(w, handle, topics[i]);
        world_waiting(w, handle, "auth: no token");
        w->dial[ENSIGN_LINK_AUTH] = DIAL_ACCEPT;
        world_await(w, handle, ENSIGN_NOTICE_NACK);
    }
    service_reset();
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(each_refusal_is_told_once_until_it_changes),
        IN_MODES(each_break_of_a_stream_that_stood_is_told),
        IN_MODES(each_refusal_ends_a_query_and_a_call),
        IN_MODES(a_server_that_is_down),
        IN_MODES(a_handle_that_comes_late_is_told_at_once),
        IN_MODES(the_newer_of_waiting_and_open),
        IN_MODES(giving_up_tells_the_last_reason),
        IN_MODES(a_stream_that_is_never_answered_is_opened_again),
        IN_MODES(a_stream_without_a_limit_waits_for_ever),
        IN_MODES(a_stream_that_is_not_sent_is_no_stall),
        IN_MODES(invalid_argument_is_final_only_at_the_open),
        IN_MODES(a_page_without_an_end_is_told),
        IN_MODES(waiting_comes_behind_an_older_state),
        IN_MODES(no_room_among_the_streams),
        IN_MODES(behind_a_goaway),
        IN_MODES(one_reason_is_not_told_again),
        IN_MODES(a_connection_that_ended_well_is_no_reason),
        IN_MODES(a_question_that_waited_for_auth),
    };
    return cmocka_run_group_tests_name("waiting", tests, NULL, NULL);
}
