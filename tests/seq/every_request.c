/* Each kind of request, whatever goes wrong: one answer, or END that says why; never both, never none. */
#include "kinds.h"

/* ------------------------------------------------------------------ answers */
SCRIPT_OF_KINDS(an_answer)
{
    int mark = 0;
    uint32_t id;
    stream_t *s;
    world_create_with_key(w);
    id = kind_open(w, k, &mark);
    s = kind_asked(w, k, 0);
    assert_int_equal(peer_field(s, "authorization") == NULL, k->no_token);
    world_silent(w, id);
    kind_answer(k, s);
    kind_good(w, k, id, &mark);
    world_hear(w);
    assert_null(world_pull(w, 0));
    assert_int_equal(ensign_hold(w->client, id, true), ENSIGN_E_HANDLE);
    assert_int_equal(ensign_forget(w->client, id), ENSIGN_OK);
    world_pass(w, 60000);
    assert_int_equal(w->stream_count, 1);
}

/* What the notice points at stands while the client goes on: steps, another answer, a lost connection. */
SCRIPT_OF_KINDS(an_answer_stands_until_the_next_pull)
{
    uint32_t id, other;
    const ensign_notice_t *n;
    world_create(w);
    id = kind_open(w, k, NULL);
    kind_answer(k, kind_asked(w, k, 0));
    n = world_expect(w, id, k->notice);
    other = kind_open(w, k, NULL);
    kind_answer(k, kind_asked(w, k, 1));
    world_settle(w);
    k->check(n);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    world_pass(w, 1000);
    k->check(n);
    kind_good(w, k, other, NULL);
    assert_int_equal(ensign_forget(w->client, id), ENSIGN_OK);
}

SCRIPT_OF_KINDS(several_at_once_are_answered_in_any_order)
{
    uint32_t id[3];
    stream_t *s[3];
    int i;
    world_create(w);
    for (i = 0; i < 3; i++) id[i] = kind_open(w, k, &id[i]);
    for (i = 0; i < 3; i++) s[i] = kind_asked(w, k, (size_t)i);
    for (i = 2; i >= 0; i--) {
        kind_answer(k, s[i]);
        kind_good(w, k, id[i], &id[i]);
    }
}

/* ------------------------------------------------------------------ the server says no */
SCRIPT_OF_KINDS(a_token_that_is_not_accepted_is_replaced_once)
{
    char first[600];
    uint32_t id;
    stream_t *s;
    if (k->no_token) return;
    world_create_with_key(w);
    id = kind_open(w, k, NULL);
    s = kind_asked(w, k, 0);
    snprintf(first, sizeof first, "%s", peer_field(s, "authorization"));
    peer_refuse(s, ENSIGN_GRPC_UNAUTHENTICATED, "invalid credentials");
    s = kind_asked(w, k, 1);
    assert_string_not_equal(peer_field(s, "authorization"), first);
    assert_int_equal(w->auth_requests, 2);
    kind_answer(k, s);
    kind_good(w, k, id, NULL);
}

SCRIPT_OF_KINDS(a_second_token_that_is_not_accepted_ends_it)
{
    const ensign_notice_t *n;
    size_t i = 0;
    uint32_t id;
    world_create_with_key(w);
    id = kind_open(w, k, NULL);
    do {
        peer_refuse(kind_asked(w, k, i++), ENSIGN_GRPC_UNAUTHENTICATED, "invalid credentials");
        world_settle(w);
    } while (i < 2 && w->stream_count > i);
    n = kind_failed(w, id, ENSIGN_E_UNAUTHENTICATED);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_UNAUTHENTICATED);
    assert_text(n->as.end.text, "invalid credentials");
    assert_true(n->as.end.from_server);
    if (!k->no_token) assert_int_equal(i, 2);
    world_pass(w, 60000);
    assert_int_equal(w->stream_count, i);
}

SCRIPT_OF_KINDS(a_key_that_may_not)
{
    const ensign_notice_t *n;
    uint32_t id;
    world_create_with_key(w);
    id = kind_open(w, k, &w);
    peer_refuse(kind_asked(w, k, 0), ENSIGN_GRPC_PERMISSION_DENIED, "not authorized to perform this action");
    n = kind_failed(w, id, ENSIGN_E_PERMISSION_DENIED);
    assert_ptr_equal(n->user, &w);
    assert_text(n->as.end.text, "not authorized to perform this action");
    assert_non_null(strstr(n->error->text, "not authorized to perform this action"));
    world_pass(w, 60000);
    assert_int_equal(w->stream_count, 1);
    assert_int_equal(w->auth_requests, 1);
}

/* The status comes behind a message that was good: it is the status that counts. */
SCRIPT_OF_KINDS(a_message_and_an_error)
{
    bytes_t m = {0};
    stream_t *s;
    uint32_t id;
    world_create(w);
    id = kind_open(w, k, NULL);
    s = kind_asked(w, k, 0);
    k->answer(&m);
    peer_send(s, &m);
    peer_finish(s, ENSIGN_GRPC_ABORTED, "at the last moment", NULL);
    kind_failed(w, id, ENSIGN_E_ABORTED);
}

/* ------------------------------------------------------------------ answers that are none */
SCRIPT_OF_KINDS(an_ok_without_a_message)
{
    uint32_t id;
    world_create(w);
    id = kind_open(w, k, NULL);
    peer_finish(kind_asked(w, k, 0), 0, NULL, NULL);
    assert_false(kind_failed(w, id, ENSIGN_E_INTERNAL)->as.end.from_server);
    id = kind_open(w, k, NULL);
    peer_only(kind_asked(w, k, 1), "200", "content-type", "application/grpc", "grpc-status", "0", NULL);
    kind_failed(w, id, ENSIGN_E_INTERNAL);
}

/* The server's answer to that question is these bytes, with OK behind them. */
static void answer_fails(world_t *w, const kind_t *k, size_t nth, const char *bytes, size_t len)
{
    uint32_t id = kind_open(w, k, NULL);
    stream_t *s = kind_asked(w, k, nth);
    peer_message(s, bytes, len);
    peer_finish(s, 0, NULL, NULL);
    kind_failed(w, id, ENSIGN_E_INTERNAL);
}

SCRIPT_OF_KINDS(a_message_that_is_no_protobuf)
{
    if (k->opaque) return;
    world_create(w);
    answer_fails(w, k, 0, "\x0a\xff\xff\xff", 4);
    answer_fails(w, k, 1, "\x08\x80", 2);
}

/* A server whose handler panics says OK, with an empty message. */
SCRIPT_OF_KINDS(an_empty_message_where_the_answer_needs_an_id)
{
    if (k->empty) return;
    world_create(w);
    answer_fails(w, k, 0, "", 0);
}

SCRIPT_OF_KINDS(a_second_message)
{
    bytes_t m = {0};
    stream_t *s;
    uint32_t id;
    world_create(w);
    id = kind_open(w, k, NULL);
    s = kind_asked(w, k, 0);
    k->answer(&m);
    peer_send(s, &m);
    k->answer(&m);
    peer_send(s, &m);
    peer_finish(s, 0, NULL, NULL);
    kind_failed(w, id, ENSIGN_E_INTERNAL);
}

/* ------------------------------------------------------------------ time and connections */
SCRIPT_OF_KINDS(no_answer_in_time)
{
    uint64_t began;
    stream_t *s;
    uint32_t id;
    w->desc.request_timeout_ms = 700;
    world_create(w);
    id = kind_open(w, k, NULL);
    began = w->now;
    s = kind_asked(w, k, 0);
    assert_int_equal(kind_failed(w, id, ENSIGN_E_DEADLINE_EXCEEDED)->as.end.status,
                     ENSIGN_GRPC_DEADLINE_EXCEEDED);
    assert_in_range(w->now - began, 700, 710);
    world_until(w, s->reset);
    assert_int_equal(s->reset_code, NGHTTP2_CANCEL);
}

SCRIPT_OF_KINDS(no_connection_in_time)
{
    uint64_t began;
    uint32_t id;
    w->desc.request_timeout_ms = 5000;
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    world_create(w);
    id = kind_open(w, k, NULL);
    began = w->now;
    kind_failed(w, id, ENSIGN_E_DEADLINE_EXCEEDED);
    assert_in_range(w->now - began, 5000, 5010);
    assert_true(w->dials[ENSIGN_LINK_RPC] > 1);
}

SCRIPT_OF_KINDS(a_connection_that_comes_late)
{
    uint32_t id;
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    world_create(w);
    id = kind_open(w, k, NULL);
    world_pass(w, 2000);
    assert_null(world_pull(w, id));
    w->dial[ENSIGN_LINK_RPC] = DIAL_ACCEPT;
    kind_answer(k, kind_asked(w, k, 0));
    kind_good(w, k, id, NULL);
}

/* ------------------------------------------------------------------ the way to the server fails */
static void lost(world_t *w, stream_t *s)
{
    (void)s;
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
}

static void proxy_503(world_t *w, stream_t *s)
{
    (void)w;
    peer_only(s, "503", "content-type", "text/html", NULL);
}

static void refused_unseen(world_t *w, stream_t *s)
{
    (void)w;
    peer_reset(s, NGHTTP2_REFUSED_STREAM);
}

/* GOAWAY with an id below that of the stream: the server has not looked at it, and will not. */
static void gone_away(world_t *w, stream_t *s)
{
    (void)s;
    peer_goaway(w, 0, NGHTTP2_NO_ERROR, NULL);
}

static const struct { const char *name; void (*break_it)(world_t *w, stream_t *s); bool acted; const char *words; }
failures[] = {
    { "the connection is lost", lost, true, "is gone" },
    { "a proxy answers 503", proxy_503, true, "HTTP status 503" },
    { "REFUSED_STREAM", refused_unseen, false, "REFUSED_STREAM" },
    { "GOAWAY above the last stream", gone_away, false, "" }, /* the call or the connection is told of */
};

/* The server may have acted on it, and a second time would change something: END, and it is not sent again. */
static void is_not_sent_again(world_t *w, const kind_t *k, uint32_t id)
{
    size_t streams = w->stream_count;
    const ensign_notice_t *n = world_expect(w, id, ENSIGN_NOTICE_END);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_UNAVAILABLE);
    assert_non_null(n->error);
    assert_true(n->last);
    assert_false(n->as.end.from_server);
    assert_false(n->as.end.unprocessed);
    world_pass(w, 60000);
    assert_int_equal(w->stream_count, streams);
    id = kind_open(w, k, NULL);     /* the client is as good as before */
    kind_answer(k, kind_asked(w, k, streams));
    kind_good(w, k, id, NULL);
}

/* It fails four times, and has its answer then; or it is one that must not be sent again. */
SCRIPT_OF_KINDS(a_way_that_fails_for_a_while)
{
    for (size_t f = 0; f < COUNT(failures); f++) {
        size_t at = 0;
        uint32_t id;
        world_create(w);
        id = kind_open(w, k, NULL);
        for (size_t i = 0; i < 4; i++) {
            failures[f].break_it(w, kind_asked(w, k, at++));
            if (failures[f].acted && kind_changes(k)) break;
        }
        if (failures[f].acted && kind_changes(k)) {
            is_not_sent_again(w, k, id);
        } else {
            kind_answer(k, kind_asked(w, k, at));
            kind_good(w, k, id, NULL);
        }
        assert_int_equal(w->waits, 0);
        world_close(w);
        world_begin(w, w->mode, world_base_seed());
    }
    world_create(w);
}

static void fail_each(world_t *w, stream_t *s)
{
    failures[*(size_t *)w->user].break_it(w, s);
}

/* It fails for ever: request_timeout_ms ends it, which tells why; a busy loop it is not. */
SCRIPT_OF_KINDS(a_way_that_fails_for_ever)
{
    for (size_t f = 0; f < COUNT(failures); f++) {
        const ensign_notice_t *n;
        uint64_t began;
        uint32_t id;
        if (failures[f].acted && kind_changes(k)) continue;
        w->user = &f;
        w->on_headers = fail_each;
        w->desc.request_timeout_ms = 5000;
        w->desc.backoff_max_ms = 1000;
        world_create(w);
        id = kind_open(w, k, NULL);
        began = w->now;
        n = kind_failed(w, id, ENSIGN_E_DEADLINE_EXCEEDED);
        assert_in_range(w->now - began, 5000, 5020);
        if (!strstr(n->error->text, "within request_timeout_ms: "))
            world_fail(w, "%s: END says: %s", failures[f].name, n->error->text);
        if (!strstr(n->error->text, failures[f].words))
            world_fail(w, "%s: END says: %s", failures[f].name, n->error->text);
        assert_false(n->as.end.unprocessed && failures[f].acted);
        if (w->stream_count < 5 || w->stream_count > 50)
            world_fail(w, "%s: it was sent %zu times in 5 s", failures[f].name, w->stream_count);
        world_close(w);
        world_begin(w, w->mode, world_base_seed());
    }
    world_create(w);
}

/* An error that the server itself gives is an answer. */
SCRIPT_OF_KINDS(a_server_that_is_not_available)
{
    const ensign_notice_t *n;
    uint32_t id;
    world_create(w);
    id = kind_open(w, k, NULL);
    peer_refuse(kind_asked(w, k, 0), ENSIGN_GRPC_UNAVAILABLE, "in maintenance");
    n = kind_failed(w, id, ENSIGN_E_UNAVAILABLE);
    assert_true(n->as.end.from_server);
    world_pass(w, 60000);
    assert_int_equal(w->stream_count, 1);
}

SCRIPT_OF_KINDS(a_server_that_goes_away)
{
    uint32_t id, late;
    stream_t *s;
    world_create(w);
    id = kind_open(w, k, NULL);
    s = kind_asked(w, k, 0);
    peer_goaway(w, s->id, NGHTTP2_NO_ERROR, NULL);
    world_settle(w);
    late = kind_open(w, k, NULL);
    world_settle(w);
    kind_answer(k, s);              /* what runs may finish, then there is another connection */
    kind_good(w, k, id, NULL);
    s = kind_asked(w, k, 1);
    assert_int_equal(s->conn->number, 1);
    kind_answer(k, s);
    kind_good(w, k, late, NULL);
}

/* ------------------------------------------------------------------ the user ends it */
SCRIPT_OF_KINDS(closing_lets_it_finish)
{
    uint32_t id;
    stream_t *s;
    world_create(w);
    id = kind_open(w, k, NULL);
    s = kind_asked(w, k, 0);
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 5000), ENSIGN_OK);
    assert_int_equal(k->open(w, NULL).id, 0);
    assert_int_equal(ensign_error(w->client)->code, ENSIGN_E_STATE);
    world_settle(w);
    kind_answer(k, s);
    kind_good(w, k, id, NULL);
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED);
}

SCRIPT_OF_KINDS(closing_ends_it_when_time_is_up)
{
    const ensign_notice_t *n;
    uint64_t began;
    uint32_t id;
    world_create(w);
    id = kind_open(w, k, NULL);
    kind_asked(w, k, 0);
    began = w->now;
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 300), ENSIGN_OK);
    n = world_expect(w, id, ENSIGN_NOTICE_END);
    assert_in_range(w->now - began, 300, 310);
    assert_int_not_equal(n->as.end.status, ENSIGN_GRPC_OK);
    assert_non_null(n->error);
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED);
}

SCRIPT_OF_KINDS(forgetting_resets_its_stream)
{
    uint32_t id, other;
    stream_t *s, *t;
    world_create(w);
    id = kind_open(w, k, NULL);
    other = kind_open(w, k, NULL);
    s = kind_asked(w, k, 0);
    t = kind_asked(w, k, 1);
    peer_open(s);
    world_settle(w);
    assert_int_equal(ensign_forget(w->client, id), ENSIGN_OK);
    world_until(w, s->reset);
    assert_int_equal(s->reset_code, NGHTTP2_CANCEL);
    kind_answer(k, s);
    kind_answer(k, t);
    world_settle(w);
    assert_null(world_pull(w, id));
    kind_good(w, k, other, NULL);
}

/* The answer is here, and was not looked at. */
SCRIPT_OF_KINDS(forgetting_an_answer_unread)
{
    uint32_t id;
    world_create(w);
    id = kind_open(w, k, NULL);
    kind_answer(k, kind_asked(w, k, 0));
    world_until(w, ensign_pending(w->client, id));
    assert_int_equal(ensign_forget(w->client, id), ENSIGN_OK);
    assert_false(ensign_pending(w->client, id));
    world_hear(w);
    assert_null(world_pull(w, 0));
}

/* ------------------------------------------------------------------ memory */
SCRIPT_OF_KINDS(memory_stays_within_the_bound)
{
    size_t bound;
    uint32_t id;
    world_create(w);
    bound = ensign_memory_bound(&w->desc) + ensign_request_memory_bound(&w->desc);
    id = kind_open(w, k, NULL);
    kind_answer(k, kind_asked(w, k, 0));
    kind_good(w, k, id, NULL);
    assert_in_range(w->live_peak, 1, bound);
}

SCRIPT_OF_KINDS(an_answer_that_is_too_large)
{
    static char filler[1 << 20];
    size_t bound, i;
    bytes_t m = {0};
    uint32_t id;
    stream_t *s;
    if (w->mode == BYTE) return;    /* four million steps teach nothing */
    world_create(w);
    bound = ensign_memory_bound(&w->desc) + ensign_request_memory_bound(&w->desc);
    id = kind_open(w, k, NULL);
    s = kind_asked(w, k, 0);
    for (i = 0; i < 5; i++) enc_bytes(&m, 99, filler, sizeof filler);
    peer_send(s, &m);
    peer_finish(s, 0, NULL, NULL);
    assert_int_equal(kind_failed(w, id, ENSIGN_E_TOO_LARGE)->as.end.status, ENSIGN_GRPC_RESOURCE_EXHAUSTED);
    assert_in_range(w->live_peak, 1, bound);
}

SCRIPT_OF_KINDS(no_more_handles_than_agreed)
{
    uint32_t id;
    w->desc.max_handles = 1;
    world_create(w);
    id = kind_open(w, k, NULL);
    assert_int_equal(k->open(w, NULL).id, 0);
    assert_int_equal(ensign_error(w->client)->code, ENSIGN_E_LIMIT);
    assert_non_null(strstr(ensign_error(w->client)->text, "max_handles"));
    kind_answer(k, kind_asked(w, k, 0));
    kind_good(w, k, id, NULL);
    world_pull(w, 0);
    assert_int_not_equal(k->open(w, NULL).id, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(an_answer),
        IN_MODES(an_answer_stands_until_the_next_pull),
        IN_MODES(several_at_once_are_answered_in_any_order),
        IN_MODES(a_token_that_is_not_accepted_is_replaced_once),
        IN_MODES(a_second_token_that_is_not_accepted_ends_it),
        IN_MODES(a_key_that_may_not),
        IN_MODES(a_message_and_an_error),
        IN_MODES(an_ok_without_a_message),
        IN_MODES(a_message_that_is_no_protobuf),
        IN_MODES(an_empty_message_where_the_answer_needs_an_id),
        IN_MODES(a_second_message),
        IN_MODES(no_answer_in_time),
        IN_MODES(no_connection_in_time),
        IN_MODES(a_connection_that_comes_late),
        IN_MODES(a_way_that_fails_for_a_while),
        IN_MODES(a_way_that_fails_for_ever),
        IN_MODES(a_server_that_is_not_available),
        IN_MODES(a_server_that_goes_away),
        IN_MODES(closing_lets_it_finish),
        IN_MODES(closing_ends_it_when_time_is_up),
        IN_MODES(forgetting_resets_its_stream),
        IN_MODES(forgetting_an_answer_unread),
        IN_MODES(memory_stays_within_the_bound),
        IN_MODES(an_answer_that_is_too_large),
        IN_MODES(no_more_handles_than_agreed),
    };
    return cmocka_run_group_tests_name("every_request", tests, NULL, NULL);
}
