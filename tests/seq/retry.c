/* Further attempts of calls: which failures they follow, how long they wait, and what ends them. */
#include "calls.h"

/* ------------------------------------------------------------------ what the scripts share */
static ensign_retry_t attempts(uint32_t most)
{
    ensign_retry_t r;
    memset(&r, 0, sizeof r);
    r.max_attempts = most;
    return r;
}

static ensign_call_desc_t tried(ensign_call_desc_t d, uint32_t most)
{
    d.retry = attempts(most);
    return d;
}

/* Trailers alone, with the server's word on when to come back. */
static void push_back(stream_t *s, const char *ms)
{
    peer_only(s, "200", "content-type", "application/grpc", "grpc-status", "14", "grpc-message", "busy",
              "grpc-retry-pushback-ms", ms, NULL);
}

/* The i-th stream has come, and is answered UNAVAILABLE by trailers alone. */
static stream_t *refuse(world_t *w, size_t i)
{
    stream_t *s = world_stream(w, i);
    peer_refuse(s, ENSIGN_GRPC_UNAVAILABLE, "busy");
    return s;
}

static void answer(stream_t *s, const char *text)
{
    peer_message(s, text, strlen(text));
    peer_finish(s, 0, NULL, NULL);
}

/* The i-th stream has come, and says that so many attempts were before it; NULL: it says nothing. */
static stream_t *arrives(world_t *w, size_t i, const char *before)
{
    stream_t *s = world_stream(w, i);
    const char *told = peer_field(s, "grpc-previous-rpc-attempts");
    if (!before != !told || (told && strcmp(told, before) != 0))
        world_fail(w, "stream %zu tells of %s attempts before it, not of %s", i, told ? told : "no",
                   before ? before : "none");
    return s;
}

static int send_part(world_t *w, uint32_t k, size_t len)
{
    static const uint8_t part[1000];
    return ensign_call_send(w->client, as_call(k), slice_of(part, len), 0);
}

/* No stream comes but those that were there, whatever time goes by. */
static void no_more_streams(world_t *w, size_t count)
{
    world_pass(w, 60000);
    assert_int_equal(w->stream_count, count);
}

static void says(world_t *w, const ensign_notice_t *n, const char *words)
{
    if (!n->error || !strstr(n->error->text, words))
        world_fail(w, "\"%s\" is not in the error: %s", words, n->error ? n->error->text : "-");
}

/* The bucket of the client's calls, in tenths. */
static uint32_t spent(const world_t *w)
{
    return w->client->calls.spent;
}

/* A call of this desc whose only stream is refused; the client makes no other. */
static const ensign_notice_t *ends_at_once(world_t *w, const ensign_call_desc_t *d)
{
    size_t seen = w->stream_count;
    uint32_t k = call(w, d);
    refuse(w, seen);
    no_more_streams(w, seen + 1);
    return world_reply(w, k, ENSIGN_GRPC_UNAVAILABLE);
}

/* ------------------------------------------------------------------ how many, and of what */
SCRIPT(a_call_is_tried_again_until_it_is_answered)
{
    ensign_call_desc_t d = tried(unary("hello"), 3);
    const ensign_notice_t *n;
    stream_t *s;
    uint32_t k;
    world_create(w);
    k = call(w, &d);
    assert_text(world_request(w, arrives(w, 0, NULL)), "hello");
    refuse(w, 0);
    assert_text(world_request(w, arrives(w, 1, "1")), "hello");
    refuse(w, 1);
    s = arrives(w, 2, "2");
    assert_text(world_request(w, s), "hello");
    world_until(w, s->half_closed);
    answer(s, "world");
    n = world_reply(w, k, ENSIGN_GRPC_OK);
    assert_text(n->as.reply.message, "world");
    assert_int_equal(n->as.reply.attempts, 3);
    assert_int_equal(n->as.reply.retry_after_ms, -1);
    assert_int_equal(n->as.reply.text.len, 0);
    no_more_streams(w, 3);
    assert_int_equal(w->waits, 0); /* a unary call has one notice */
}

SCRIPT(the_last_attempt_s_status_is_given)
{
    ensign_call_desc_t d = tried(unary("hello"), 2);
    const ensign_notice_t *n;
    uint32_t k;
    world_create(w);
    k = call(w, &d);
    peer_refuse(world_stream(w, 0), ENSIGN_GRPC_UNAVAILABLE, "first");
    peer_refuse(world_stream(w, 1), ENSIGN_GRPC_UNAVAILABLE, "second");
    n = world_reply(w, k, ENSIGN_GRPC_UNAVAILABLE);
    assert_text(n->as.reply.text, "second");
    assert_true(n->as.reply.from_server);
    assert_int_equal(n->as.reply.attempts, 2);
    says(w, n, "second; attempt 2 of 2: the last one");
    no_more_streams(w, 2);
    k = call(w, &d);
    refuse(w, 2);
    peer_refuse(world_stream(w, 3), ENSIGN_GRPC_ABORTED, "third");
    n = world_reply(w, k, ENSIGN_GRPC_ABORTED);
    assert_text(n->as.reply.text, "third");
    assert_null(strstr(n->error->text, "attempt"));
    no_more_streams(w, 4);
}

SCRIPT(a_call_without_a_retry_has_one_attempt)
{
    ensign_call_desc_t d = unary("q");
    world_create(w);
    assert_int_equal(ends_at_once(w, &d)->as.reply.attempts, 1);
    assert_int_equal(spent(w), 0);
}

SCRIPT(other_statuses_end_the_call)
{
    ensign_call_desc_t d = tried(unary("q"), 5);
    const ensign_notice_t *n;
    uint32_t k;
    int status;
    size_t seen = 0;
    world_create(w);
    for (status = 1; status <= ENSIGN_GRPC_UNAUTHENTICATED; status++) {
        if (status == ENSIGN_GRPC_UNAVAILABLE) continue;
        k = call(w, &d);
        peer_refuse(world_stream(w, seen++), status, "no");
        n = world_reply(w, k, status);
        assert_int_equal(n->as.reply.attempts, 1);
    }
    no_more_streams(w, seen);
    assert_int_equal(spent(w), 0);
    d.retry.statuses = 1u << ENSIGN_GRPC_ABORTED | 1u << ENSIGN_GRPC_UNKNOWN;
    ends_at_once(w, &d); /* UNAVAILABLE is not among them */
    seen++;
    k = call(w, &d);
    peer_refuse(world_stream(w, seen++), ENSIGN_GRPC_ABORTED, "no");
    peer_refuse(world_stream(w, seen++), ENSIGN_GRPC_UNKNOWN, "no");
    answer(arrives(w, seen++, "2"), "yes");
    assert_text(world_reply(w, k, ENSIGN_GRPC_OK)->as.reply.message, "yes");
}

/* ------------------------------------------------------------------ gRPC's headers, and other ones */
SCRIPT(headers_end_the_attempts)
{
    ensign_call_desc_t d = tried(streaming(), 5), u = tried(unary("q"), 5);
    const ensign_notice_t *n;
    stream_t *s;
    uint32_t k;
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    peer_open(s);
    world_expect(w, k, ENSIGN_NOTICE_HEADERS);
    peer_finish(s, ENSIGN_GRPC_UNAVAILABLE, "late", NULL);
    n = world_expect(w, k, ENSIGN_NOTICE_END);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_UNAVAILABLE);
    assert_int_equal(n->as.end.attempts, 1);
    says(w, n, "late; attempt 1 of 5: not repeated, for the server's headers had come");
    assert_int_equal(spent(w), 10);
    k = call(w, &u);
    s = world_stream(w, 1);
    peer_message(s, "half", 4);
    peer_finish(s, ENSIGN_GRPC_UNAVAILABLE, "late", NULL);
    n = world_reply(w, k, ENSIGN_GRPC_UNAVAILABLE);
    says(w, n, "headers had come");
    k = call(w, &u);
    s = world_stream(w, 2);
    peer_open(s);
    world_settle(w);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET); /* the same of a connection that is lost behind them */
    says(w, world_reply(w, k, ENSIGN_GRPC_UNAVAILABLE), "headers had come");
    no_more_streams(w, 3);
}

/* A proxy's page is not the server's answer. A streaming call is told of the last one alone. */
SCRIPT(a_page_is_not_headers)
{
    ensign_call_desc_t d = tried(streaming(), 3);
    const ensign_notice_t *n;
    stream_t *s;
    uint32_t k;
    size_t i;
    world_create(w);
    k = call(w, &d);
    assert_int_equal(ensign_call_half_close(w->client, as_call(k)), ENSIGN_OK);
    for (i = 0; i < 2; i++) {
        s = world_stream(w, i);
        peer_headers(s, "503", "content-type", "text/html", NULL);
        world_settle(w);
        peer_raw(s, "<html>no server</html>", 22);
        peer_end(s, false);
    }
    world_waiting(w, k, "HTTP status 503: no server");
    s = arrives(w, 2, "2");
    answer(s, "one");
    world_expect(w, k, ENSIGN_NOTICE_HEADERS);
    assert_text(world_expect(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "one");
    n = world_expect(w, k, ENSIGN_NOTICE_END);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_OK);
    assert_int_equal(n->as.end.attempts, 3);
    d.retry.max_attempts = 2;
    k = call(w, &d);
    for (i = 3; i < 5; i++) {
        s = world_stream(w, i);
        peer_headers(s, "503", "content-type", "text/html", "x-proxy", "me", NULL);
        world_settle(w);
        peer_end(s, false);
    }
    world_expect(w, k, ENSIGN_NOTICE_HEADERS); /* of the last one */
    n = world_expect(w, k, ENSIGN_NOTICE_END);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_UNAVAILABLE);
    says(w, n, "attempt 2 of 2");
}

/* ------------------------------------------------------------------ streams of messages */
SCRIPT(messages_are_sent_again_from_the_first)
{
    ensign_call_desc_t d = tried(streaming(), 3);
    stream_t *s;
    uint32_t k;
    world_create(w);
    k = call(w, &d);
    assert_int_equal(send_text(w, k, "one"), ENSIGN_OK);
    s = world_stream(w, 0);
    assert_text(world_request(w, s), "one");
    assert_int_equal(send_text(w, k, "two"), ENSIGN_OK);
    assert_text(world_request(w, s), "two");
    push_back(s, "500");
    world_waiting(w, k, "busy");
    assert_int_equal(send_text(w, k, "three"), ENSIGN_OK); /* during the wait */
    world_pass(w, 400);
    assert_int_equal(w->stream_count, 1);
    s = arrives(w, 1, "1");
    assert_text(world_request(w, s), "one");
    assert_text(world_request(w, s), "two");
    assert_text(world_request(w, s), "three");
    assert_int_equal(send_text(w, k, "four"), ENSIGN_OK);
    assert_text(world_request(w, s), "four");
    peer_message(s, "ball", 4);
    world_expect(w, k, ENSIGN_NOTICE_HEADERS);
    assert_text(world_expect(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "ball");
    assert_int_equal(send_text(w, k, "five"), ENSIGN_OK);
    assert_text(world_request(w, s), "five");
    assert_int_equal(ensign_call_half_close(w->client, as_call(k)), ENSIGN_OK);
    world_until(w, s->half_closed);
    assert_int_equal(s->in_at, s->in.len);
    peer_finish(s, 0, NULL, NULL);
    world_end(w, k, ENSIGN_GRPC_OK);
}

/* Also between reserve and commit. */
SCRIPT(a_reserve_survives_a_wait)
{
    ensign_call_desc_t d = tried(streaming(), 3);
    uint8_t *room = NULL;
    stream_t *s;
    uint32_t k;
    world_create(w);
    k = call(w, &d);
    assert_int_equal(send_text(w, k, "one"), ENSIGN_OK);
    s = world_stream(w, 0);
    assert_text(world_request(w, s), "one");
    assert_int_equal(ensign_call_reserve(w->client, as_call(k), 3, &room), ENSIGN_OK);
    refuse(w, 0);
    world_settle(w);
    memcpy(room, "two", 3);
    assert_int_equal(ensign_call_commit(w->client, as_call(k), 3, 0), ENSIGN_OK);
    assert_int_equal(ensign_call_half_close(w->client, as_call(k)), ENSIGN_OK);
    s = world_stream(w, 1);
    assert_text(world_request(w, s), "one");
    assert_text(world_request(w, s), "two");
    world_until(w, s->half_closed);
    answer(s, "2");
    assert_text(world_await(w, k, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "2");
    world_end(w, k, ENSIGN_GRPC_OK);
}

/* What the buffer has no room for any more cannot be sent again. */
SCRIPT(a_request_that_outgrows_its_buffer_has_no_other_attempt)
{
    ensign_call_desc_t d = tried(streaming(), 5);
    const ensign_notice_t *n;
    stream_t *s;
    uint32_t k;
    int i;
    world_create(w);
    d.send_buffer_bytes = 1000;
    k = call(w, &d);
    s = world_stream(w, 0);
    for (i = 0; i < 2; i++) {
        assert_int_equal(send_part(w, k, 400), ENSIGN_OK);
        world_request(w, s);
    }
    refuse(w, 0);
    s = arrives(w, 1, "1"); /* both are still in the buffer */
    for (i = 0; i < 2; i++) world_request(w, s);
    assert_int_equal(send_part(w, k, 400), ENSIGN_OK);
    world_request(w, s);
    refuse(w, 1);
    n = world_end(w, k, ENSIGN_GRPC_UNAVAILABLE);
    says(w, n, "attempt 2 of 5: not repeated, for the request is more than send_buffer_bytes hold");
    no_more_streams(w, 2);
}

/* What was refused with AGAIN is told to fit when an attempt has taken what is before it. */
SCRIPT(room_is_given_after_a_wait)
{
    ensign_call_desc_t d = tried(streaming(), 3);
    stream_t *s;
    uint32_t k;
    world_create(w);
    d.send_buffer_bytes = 1000;
    k = call(w, &d);
    assert_int_equal(send_part(w, k, 900), ENSIGN_OK);
    s = world_stream(w, 0);
    world_request(w, s);
    push_back(s, "1000");
    world_waiting(w, k, "busy");
    assert_int_equal(send_part(w, k, 900), ENSIGN_AGAIN);
    world_pass(w, 900);
    world_silent(w, k);
    s = world_stream(w, 1);
    world_expect(w, k, ENSIGN_NOTICE_ROOM);
    assert_int_equal(send_part(w, k, 900), ENSIGN_OK);
    world_request(w, s);
    world_request(w, s);
    answer(s, "ok");
    world_end(w, k, ENSIGN_GRPC_OK);
}

/* ------------------------------------------------------------------ what tells of a wait */
SCRIPT(a_streaming_call_tells_why_it_waits)
{
    ensign_call_desc_t d = tried(streaming(), 5);
    const ensign_notice_t *n;
    uint32_t k;
    world_create(w);
    k = call(w, &d);
    push_back(world_stream(w, 0), "3000");
    n = world_waiting(w, k, "answers UNAVAILABLE: busy");
    assert_int_equal(n->error->code, ENSIGN_E_UNAVAILABLE);
    assert_int_equal(n->as.waiting.retry_in_ms, 3000);
    assert_int_equal(n->as.waiting.failures, 1);
    push_back(world_stream(w, 1), "3000"); /* the same reason is not told again */
    world_silent(w, k);
    assert_int_equal(w->waits, 1);
    peer_only(world_stream(w, 2), "200", "content-type", "application/grpc", "grpc-status", "14",
              "grpc-message", "other", "grpc-retry-pushback-ms", "70", NULL);
    n = world_waiting(w, k, "other");
    assert_int_equal(n->as.waiting.retry_in_ms, 70);
    assert_int_equal(n->as.waiting.failures, 3);
    answer(world_stream(w, 3), "ok");
    world_end(w, k, ENSIGN_GRPC_OK);
}

SCRIPT(the_text_of_a_timeout_tells_why_a_unary_call_waits)
{
    ensign_call_desc_t d = tried(unary("q"), 3);
    uint32_t k;
    world_create(w);
    k = call(w, &d);
    push_back(world_stream(w, 0), "3000");
    world_settle(w);
    world_silent(w, k);
    assert_int_equal(ensi_client_timed_out(w->client, k), ENSIGN_TIMEOUT);
    assert_non_null(strstr(ensign_error(w->client)->text, "answers UNAVAILABLE: busy"));
    answer(world_stream(w, 1), "ok");
    world_reply(w, k, ENSIGN_GRPC_OK);
}

/* ------------------------------------------------------------------ how long */
/* The limit doubles from backoff_min_ms to backoff_max_ms, and a wait is drawn from 0 to it. */
SCRIPT(waits_are_drawn_under_a_limit_that_doubles)
{
    static const uint32_t limits[] = { 1000, 2000, 3000, 3000 };
    uint64_t longest[4] = { 0, 0, 0, 0 }, shortest[4] = { 9999, 9999, 9999, 9999 };
    ensign_call_desc_t d = tried(unary("q"), 5);
    size_t rounds = w->mode == WHOLE ? 60 : 4, round, i;
    d.retry.backoff_min_ms = 1000;
    d.retry.backoff_max_ms = 3000;
    warm(w);
    for (round = 0; round < rounds; round++) {
        size_t seen = w->stream_count;
        uint32_t k = call(w, &d);
        w->client->calls.spent = 0;
        for (i = 0; i < 4; i++) {
            uint64_t failed, took;
            refuse(w, seen + i);
            world_settle(w);
            failed = w->now;
            world_stream(w, seen + i + 1);
            took = w->now - failed;
            if (took > longest[i]) longest[i] = took;
            if (took < shortest[i]) shortest[i] = took;
        }
        answer(world_stream(w, seen + 4), "ok");
        assert_int_equal(world_reply(w, k, ENSIGN_GRPC_OK)->as.reply.attempts, 5);
    }
    for (i = 0; i < 4; i++) {
        assert_in_range(longest[i], 0, limits[i] + 10);
        if (rounds < 60) continue;
        assert_true(longest[i] > limits[i] * 8 / 10);
        assert_true(shortest[i] < limits[i] / 5);
    }
}

SCRIPT(the_server_says_when_to_come_back)
{
    ensign_call_desc_t d = tried(unary("q"), 5);
    uint64_t failed;
    uint32_t k;
    world_create(w);
    d.retry.backoff_min_ms = d.retry.backoff_max_ms = 1;
    k = call(w, &d);
    push_back(world_stream(w, 0), "7000"); /* above backoff_max_ms */
    world_settle(w);
    failed = w->now;
    world_stream(w, 1);
    assert_in_range(w->now - failed, 7000, 7010);
    failed = w->now;
    push_back(world_stream(w, 1), "0");
    world_stream(w, 2);
    assert_in_range(w->now - failed, 0, 20);
    answer(world_stream(w, 2), "ok");
    world_reply(w, k, ENSIGN_GRPC_OK);
}

/* The server's word begins the doubling anew. */
SCRIPT(draws_begin_anew_behind_the_server_s_word)
{
    ensign_call_desc_t d = tried(unary("q"), 5);
    uint64_t failed;
    size_t rounds = w->mode == WHOLE ? 40 : 3, round;
    warm(w);
    d.retry.backoff_min_ms = 10;
    d.retry.backoff_max_ms = 10000;
    for (round = 0; round < rounds; round++) {
        size_t seen = w->stream_count;
        uint32_t k = call(w, &d);
        w->client->calls.spent = 0;
        refuse(w, seen);
        refuse(w, seen + 1);
        push_back(world_stream(w, seen + 2), "50");
        refuse(w, seen + 3);
        world_settle(w);
        failed = w->now;
        world_stream(w, seen + 4);
        assert_in_range(w->now - failed, 0, 20);
        answer(world_stream(w, seen + 4), "ok");
        world_reply(w, k, ENSIGN_GRPC_OK);
    }
}

SCRIPT(the_server_forbids_another_attempt)
{
    static const char *const words[] = { "-1", "-5000", "soon", "", "1.5", "12345678901234567890", "1 2" };
    ensign_call_desc_t d = tried(unary("q"), 5);
    const ensign_notice_t *n;
    uint32_t k;
    size_t i;
    world_create(w);
    for (i = 0; i < COUNT(words); i++) {
        w->client->calls.spent = 0;
        k = call(w, &d);
        push_back(world_stream(w, i), words[i]);
        n = world_reply(w, k, ENSIGN_GRPC_UNAVAILABLE);
        assert_int_equal(n->as.reply.attempts, 1);
        assert_int_equal(n->as.reply.retry_after_ms, -1);
        says(w, n, "attempt 1 of 5: the server wants no further one");
        assert_int_equal(spent(w), 10);
    }
    d.retry.statuses = 1u << ENSIGN_GRPC_ABORTED; /* it takes a token whatever the status is */
    w->client->calls.spent = 0;
    k = call(w, &d);
    push_back(world_stream(w, i), "-1");
    world_reply(w, k, ENSIGN_GRPC_UNAVAILABLE);
    assert_int_equal(spent(w), 10);
    no_more_streams(w, i + 1);
}

SCRIPT(a_deadline_counts_for_all_attempts)
{
    ensign_call_desc_t d = tried(unary("q"), 5);
    const ensign_notice_t *n;
    uint64_t began;
    uint32_t k;
    warm(w);
    began = w->now;
    d.deadline_ms = 5000;
    k = call(w, &d);
    push_back(world_stream(w, 1), "3000");
    world_stream(w, 2);
    assert_string_equal(peer_field(w->streams[1], "grpc-timeout"), "5000m");
    assert_in_range(atoi(peer_field(w->streams[2], "grpc-timeout")), 1980, 2000);
    n = world_reply(w, k, ENSIGN_GRPC_DEADLINE_EXCEEDED);
    assert_in_range(w->now - began, 5000, 5010);
    assert_int_equal(n->as.reply.attempts, 2);
    assert_false(n->as.reply.unprocessed);
    no_more_streams(w, 3);
    began = w->now;
    k = call(w, &d);
    push_back(world_stream(w, 3), "5000"); /* it would come too late: the wait is not begun */
    n = world_reply(w, k, ENSIGN_GRPC_UNAVAILABLE);
    assert_int_equal(w->now, began);
    assert_int_equal(n->as.reply.retry_after_ms, 5000);
    says(w, n, "attempt 1 of 5: not repeated, for the deadline comes before");
}

/* A step that comes late finds both over: the deadline counts. */
SCRIPT(a_deadline_that_passes_during_a_wait)
{
    ensign_call_desc_t d = tried(streaming(), 5);
    const ensign_notice_t *n;
    uint32_t k;
    warm(w);
    d.deadline_ms = 5000;
    k = call(w, &d);
    push_back(world_stream(w, 1), "4000");
    world_waiting(w, k, "busy");
    world_settle(w);
    w->now += 6000;
    n = world_end(w, k, ENSIGN_GRPC_DEADLINE_EXCEEDED);
    says(w, n, "before it could be sent again");
    says(w, n, "answers UNAVAILABLE: busy");
    assert_int_equal(n->as.end.text.len, 0);
    assert_false(n->as.end.unprocessed);
    no_more_streams(w, 2);
}

/* ------------------------------------------------------------------ the bucket */
SCRIPT(a_bucket_of_tokens_ends_the_attempts_of_all_calls)
{
    ensign_call_desc_t d = tried(unary("q"), 5), plain = unary("q");
    size_t i;
    uint32_t k;
    world_create(w);
    k = call(w, &d);
    for (i = 0; i < 4; i++) refuse(w, i);
    answer(world_stream(w, 4), "ok");
    world_reply(w, k, ENSIGN_GRPC_OK);
    assert_int_equal(spent(w), 39); /* 6.1 tokens are left */
    k = call(w, &d);
    refuse(w, 5); /* 5.1: more than half */
    refuse(w, 6);
    says(w, world_reply(w, k, ENSIGN_GRPC_UNAVAILABLE), "2 of 5: not repeated, for too many calls fail");
    assert_int_equal(spent(w), 59);
    says(w, ends_at_once(w, &d), "attempt 1 of 5: not repeated, for too many calls fail");
    assert_int_equal(spent(w), 69);
    for (i = 8; i < 38; i++) { /* a success brings back a tenth, with or without a retry of its own */
        k = call(w, i % 2 ? &d : &plain);
        answer(world_stream(w, i), "ok");
        world_reply(w, k, ENSIGN_GRPC_OK);
    }
    assert_int_equal(spent(w), 39);
    k = call(w, &plain);
    refuse(w, 38); /* a call without a retry takes nothing */
    world_reply(w, k, ENSIGN_GRPC_UNAVAILABLE);
    assert_int_equal(spent(w), 39);
    k = call(w, &d);
    refuse(w, 39);
    answer(arrives(w, 40, "1"), "ok");
    world_reply(w, k, ENSIGN_GRPC_OK);
    assert_int_equal(spent(w), 48);
    for (i = 41; i < 51; i++) ends_at_once(w, &d);
    assert_int_equal(spent(w), 100); /* never below 0 */
}

/* Exactly half is not more than half. */
SCRIPT(the_bucket_is_not_to_be_half_empty)
{
    ensign_call_desc_t d = tried(unary("q"), 5);
    const ensign_notice_t *n;
    uint32_t k;
    size_t i;
    world_create(w);
    for (i = 0; i < 4; i++) {
        k = call(w, &d);
        push_back(world_stream(w, i), "-1");
        world_reply(w, k, ENSIGN_GRPC_UNAVAILABLE);
    }
    assert_int_equal(spent(w), 40);
    n = ends_at_once(w, &d);
    assert_int_equal(n->as.reply.attempts, 1);
    assert_int_equal(spent(w), 50);
}

/* ------------------------------------------------------------------ endings during a wait */
SCRIPT(cancel_during_a_wait)
{
    ensign_call_desc_t d = tried(streaming(), 5), u = tried(unary("q"), 5);
    const ensign_notice_t *n;
    uint64_t began;
    uint32_t a, b;
    world_create(w);
    a = call(w, &d);
    b = call(w, &u);
    push_back(world_stream(w, 0), "5000");
    push_back(world_stream(w, 1), "5000");
    world_waiting(w, a, "busy");
    world_settle(w);
    began = w->now;
    assert_int_equal(ensign_cancel(w->client, a), ENSIGN_OK);
    assert_int_equal(ensign_cancel(w->client, b), ENSIGN_OK);
    n = world_expect(w, a, ENSIGN_NOTICE_END);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_CANCELLED);
    assert_int_equal(n->error->code, ENSIGN_E_CANCELLED);
    assert_int_equal(n->as.end.text.len, 0);
    assert_false(n->as.end.from_server);
    assert_false(n->as.end.unprocessed);
    n = world_reply(w, b, ENSIGN_GRPC_CANCELLED);
    assert_int_equal(n->as.reply.attempts, 1);
    assert_int_equal(w->now, began);
    no_more_streams(w, 2);
}

SCRIPT(close_during_a_wait)
{
    ensign_call_desc_t d = tried(streaming(), 5);
    const ensign_notice_t *n;
    stream_t *s;
    uint32_t a, b;
    world_create(w);
    a = call(w, &d);
    assert_int_equal(send_text(w, a, "one"), ENSIGN_OK);
    s = world_stream(w, 0);
    assert_text(world_request(w, s), "one");
    push_back(s, "5000");
    world_waiting(w, a, "busy");
    assert_int_equal(ensign_close(w->client, a, ENSIGN_FOREVER), ENSIGN_OK);
    assert_int_equal(send_text(w, a, "two"), ENSIGN_E_STATE);
    s = world_stream(w, 1); /* it goes on, half-closed */
    assert_text(world_request(w, s), "one");
    world_until(w, s->half_closed);
    answer(s, "ok");
    assert_text(world_await(w, a, ENSIGN_NOTICE_MESSAGE)->as.message.bytes, "ok");
    world_end(w, a, ENSIGN_GRPC_OK);
    b = call(w, &d);
    push_back(world_stream(w, 2), "5000");
    world_waiting(w, b, "busy");
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 1000), ENSIGN_OK);
    n = world_end(w, b, ENSIGN_GRPC_CANCELLED);
    says(w, n, "not ended within the time of ensign_close: grpc: /test.Service/Method answers UNAVAILABLE");
    assert_true(world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED)->last);
    assert_int_equal(w->stream_count, 3);
}

SCRIPT(forget_and_destroy_during_a_wait)
{
    ensign_call_desc_t d = tried(streaming(), 5);
    uint32_t a;
    world_create(w);
    a = call(w, &d);
    push_back(world_stream(w, 0), "5000");
    world_waiting(w, a, "busy");
    assert_int_equal(ensign_forget(w->client, a), ENSIGN_OK);
    no_more_streams(w, 1);
    assert_null(ensign_next_of(w->client, a));
    a = call(w, &d);
    push_back(world_stream(w, 1), "5000");
    world_waiting(w, a, "busy");
    /* the world ends here */
}

/* ------------------------------------------------------------------ connections */
SCRIPT(goaway_during_a_wait)
{
    ensign_call_desc_t d = tried(unary("q"), 3);
    stream_t *s;
    uint32_t k;
    warm(w);
    k = call(w, &d);
    push_back(world_stream(w, 1), "5000");
    world_settle(w);
    peer_goaway(w, w->streams[1]->id, NGHTTP2_NO_ERROR, NULL);
    s = arrives(w, 2, "1");
    assert_int_equal(s->conn->number, 1);
    answer(s, "ok");
    world_reply(w, k, ENSIGN_GRPC_OK);
}

SCRIPT(a_lost_connection_is_an_attempt_that_failed)
{
    ensign_call_desc_t d = tried(streaming(), 3);
    const ensign_notice_t *n;
    stream_t *s;
    uint32_t k;
    warm(w);
    d.wait_for_ready = true;
    k = call(w, &d);
    assert_int_equal(send_text(w, k, "one"), ENSIGN_OK);
    s = world_stream(w, 1);
    assert_text(world_request(w, s), "one");
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    world_waiting(w, k, "is gone");
    s = arrives(w, 2, "1");
    assert_text(world_request(w, s), "one");
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    s = arrives(w, 3, "2");
    assert_text(world_request(w, s), "one");
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    n = world_end(w, k, ENSIGN_GRPC_UNAVAILABLE);
    assert_int_equal(n->as.end.attempts, 3);
    assert_int_equal(n->error->code, ENSIGN_E_CLOSED);
    assert_false(n->as.end.unprocessed);
    no_more_streams(w, 4);
}

/* A call that the server surely did not act on is sent again once, without a wait. That is not counted as an
 * attempt. */
SCRIPT(a_refused_stream_is_no_attempt)
{
    ensign_call_desc_t d = tried(unary("q"), 2);
    const ensign_notice_t *n;
    uint64_t began;
    uint32_t k;
    warm(w);
    began = w->now;
    k = call(w, &d);
    peer_reset(arrives(w, 1, NULL), NGHTTP2_REFUSED_STREAM);
    arrives(w, 2, NULL);
    assert_int_equal(w->now, began);
    refuse(w, 2);
    answer(arrives(w, 3, "1"), "ok");
    n = world_reply(w, k, ENSIGN_GRPC_OK);
    assert_int_equal(n->as.reply.attempts, 2);
    k = call(w, &d);
    peer_reset(arrives(w, 4, NULL), NGHTTP2_REFUSED_STREAM);
    peer_reset(arrives(w, 5, NULL), NGHTTP2_REFUSED_STREAM); /* the second time it is one that failed */
    peer_reset(arrives(w, 6, "1"), NGHTTP2_REFUSED_STREAM);  /* once for all attempts */
    n = world_reply(w, k, ENSIGN_GRPC_UNAVAILABLE);
    assert_int_equal(n->as.reply.attempts, 2);
    assert_true(n->as.reply.unprocessed);
    k = call(w, &d);
    refuse(w, 7);
    peer_reset(arrives(w, 8, "1"), NGHTTP2_REFUSED_STREAM);
    peer_reset(arrives(w, 9, "1"), NGHTTP2_REFUSED_STREAM);
    n = world_reply(w, k, ENSIGN_GRPC_UNAVAILABLE);
    assert_false(n->as.reply.unprocessed); /* the first attempt may have done something */
    no_more_streams(w, 10);
}

/* So is what a GOAWAY has passed over: it goes out on the next connection, under the same number. */
SCRIPT(a_stream_above_a_goaway_is_no_attempt)
{
    ensign_call_desc_t d = tried(unary("q"), 2);
    const ensign_notice_t *n;
    uint32_t k;
    warm(w);
    k = call(w, &d);
    refuse(w, 1);
    arrives(w, 2, "1");
    peer_goaway(w, w->streams[1]->id, NGHTTP2_NO_ERROR, NULL);
    answer(arrives(w, 3, "1"), "ok");
    assert_int_equal(w->streams[3]->conn->number, 1);
    n = world_reply(w, k, ENSIGN_GRPC_OK);
    assert_int_equal(n->as.reply.attempts, 2);
}

/* The server allows one stream: others use it meanwhile, and the next attempt waits for its turn. */
SCRIPT(a_wait_holds_no_stream)
{
    ensign_call_desc_t d = tried(unary("first"), 2), u = unary("second");
    uint32_t a, b;
    world_setting(w, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1);
    warm(w);
    a = call(w, &d);
    b = call(w, &u);
    assert_text(world_request(w, world_stream(w, 1)), "first");
    push_back(w->streams[1], "1000");
    assert_text(world_request(w, world_stream(w, 2)), "second");
    world_pass(w, 5000);
    assert_int_equal(w->stream_count, 3);
    answer(w->streams[2], "ok");
    world_reply(w, b, ENSIGN_GRPC_OK);
    assert_text(world_request(w, arrives(w, 3, "1")), "first");
    answer(w->streams[3], "ok");
    world_reply(w, a, ENSIGN_GRPC_OK);
}

/* A call that does not wait for a connection is refused by the client itself: such attempts count, too. */
SCRIPT(attempts_that_cannot_be_sent)
{
    ensign_call_desc_t d = tried(unary("q"), 3);
    const ensign_notice_t *n;
    uint32_t k;
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    w->desc.backoff_min_ms = 20000;
    world_create(w);
    k = call(w, &d);
    n = world_reply(w, k, ENSIGN_GRPC_UNAVAILABLE);
    assert_int_equal(n->as.reply.attempts, 3);
    assert_true(n->as.reply.unprocessed);
    says(w, n, "attempt 3 of 3: the last one");
    assert_int_equal(w->stream_count, 0);
    w->dial[ENSIGN_LINK_RPC] = DIAL_ACCEPT;
    world_pass(w, 60000);
    d.wait_for_ready = true;
    k = call(w, &d);
    answer(arrives(w, 0, NULL), "ok");
    world_reply(w, k, ENSIGN_GRPC_OK);
}

/* Where UNAUTHENTICATED is among the statuses the next attempt has another token. */
SCRIPT(a_new_token_between_two_attempts)
{
    ensign_call_desc_t d = tried(unary("q"), 2);
    char first[512];
    uint32_t k;
    w->access_s = 60;
    w->overlap_s = 20;
    world_create_with_key(w);
    d.retry.statuses = 1u << ENSIGN_GRPC_UNAUTHENTICATED;
    k = call(w, &d);
    snprintf(first, sizeof first, "%s", peer_field(world_stream(w, 0), "authorization"));
    peer_refuse(w->streams[0], ENSIGN_GRPC_UNAUTHENTICATED, "old");
    assert_string_not_equal(peer_field(arrives(w, 1, "1"), "authorization"), first);
    answer(w->streams[1], "ok");
    world_reply(w, k, ENSIGN_GRPC_OK);
    d.retry.statuses = 0; /* renewed meanwhile */
    k = call(w, &d);
    snprintf(first, sizeof first, "%s", peer_field(world_stream(w, 2), "authorization"));
    push_back(w->streams[2], "120000");
    assert_string_not_equal(peer_field(arrives(w, 3, "1"), "authorization"), first);
    answer(w->streams[3], "ok");
    world_reply(w, k, ENSIGN_GRPC_OK);
}

/* ------------------------------------------------------------------ what the client's desc says */
static const ensign_notice_t *tries_of(world_t *w, ensign_call_desc_t d, uint32_t most)
{
    size_t seen = w->stream_count, i;
    uint32_t k;
    const ensign_notice_t *n;
    w->client->calls.spent = 0;
    k = call(w, &d);
    for (i = 0; i < most; i++) refuse(w, seen + i);
    n = world_reply(w, k, ENSIGN_GRPC_UNAVAILABLE);
    if (n->as.reply.attempts != most)
        world_fail(w, "%s: %u attempts, not %u", d.method, (unsigned)n->as.reply.attempts, (unsigned)most);
    return n;
}

SCRIPT(the_longest_match_counts)
{
    char one[] = "/test.Service/", two[] = "/test.Service/Method", three[] = "/test.Service/Once";
    ensign_method_t m[3];
    ensign_call_desc_t d = unary("q");
    uint32_t k;
    memset(m, 0, sizeof m);
    m[0].method = two;
    m[0].retry = attempts(4);
    m[0].deadline_ms = 9000;
    m[1].method = one;
    m[1].retry = attempts(3);
    m[1].deadline_ms = 8000;
    m[2].method = three;
    m[2].retry = attempts(1);
    w->desc.methods = m;
    w->desc.method_count = COUNT(m);
    w->desc.retry = attempts(2);
    world_create(w);
    memset(m, 0xEE, sizeof m); /* they were copied */
    memset(one, 'x', 4);
    memset(two, 'x', 4);
    tries_of(w, d, 4);
    assert_string_equal(peer_field(w->streams[0], "grpc-timeout"), "9000m");
    d.method = "/test.Service/Methods";
    k = (uint32_t)w->stream_count;
    tries_of(w, d, 3);
    assert_string_equal(peer_field(w->streams[k], "grpc-timeout"), "8000m");
    d.method = "/test.Service/Once";
    k = (uint32_t)w->stream_count;
    tries_of(w, d, 1);
    assert_null(peer_field(w->streams[k], "grpc-timeout"));
    d.method = "/test.Services/Method";
    tries_of(w, d, 2);
}

SCRIPT(a_call_s_own_desc_goes_before)
{
    ensign_method_t m;
    ensign_call_desc_t d = unary("q");
    size_t seen;
    uint32_t k;
    memset(&m, 0, sizeof m);
    m.method = "/test.Service/";
    m.retry = attempts(3);
    m.retry.statuses = 1u << ENSIGN_GRPC_ABORTED | 1u << ENSIGN_GRPC_UNAVAILABLE;
    m.deadline_ms = 8000;
    w->desc.methods = &m;
    w->desc.method_count = 1;
    world_create(w);
    d.retry.max_attempts = 2;
    d.deadline_ms = 7000;
    tries_of(w, d, 2);
    assert_string_equal(peer_field(w->streams[0], "grpc-timeout"), "7000m");
    k = call(w, &d); /* each field of its own */
    peer_refuse(world_stream(w, 2), ENSIGN_GRPC_ABORTED, "no");
    answer(arrives(w, 3, "1"), "ok");
    world_reply(w, k, ENSIGN_GRPC_OK);
    d.deadline_ms = ENSIGN_FOREVER;
    d.retry.max_attempts = 1;
    seen = w->stream_count;
    tries_of(w, d, 1);
    assert_null(peer_field(w->streams[seen], "grpc-timeout"));
}

#ifndef ENSIGN_NO_SERVICE
/* Requests of the service keep their own rules. */
SCRIPT(requests_are_not_tried_by_it)
{
    ensign_method_t m;
    const ensign_notice_t *n;
    ensign_request_t r;
    memset(&m, 0, sizeof m);
    m.method = "/ensign.v1beta1.Ensign/";
    m.retry = attempts(5);
    m.deadline_ms = 1;
    w->desc.methods = &m;
    w->desc.method_count = 1;
    w->desc.retry = attempts(5);
    world_create(w);
    r = ensign_topic_create(w->client, "weather", NULL, NULL);
    assert_true(r.id != 0);
    assert_null(strstr(peer_field(world_stream(w, 0), ":path"), "Method"));
    peer_refuse(world_stream(w, 0), ENSIGN_GRPC_UNAVAILABLE, "busy");
    n = world_end(w, r.id, ENSIGN_GRPC_UNAVAILABLE);
    assert_int_equal(n->as.end.attempts, 0);
    no_more_streams(w, 1);
}
#endif

SCRIPT(errors_of_a_call_s_retry)
{
    ensign_call_desc_t d = tried(unary("q"), 6);
    world_create(w);
    assert_int_equal(ensign_call_open(w->client, &d).id, 0);
    assert_int_equal(ensign_error(w->client)->code, ENSIGN_E_ARGUMENT);
    assert_string_equal(ensign_error(w->client)->text,
                        "call: retry.max_attempts is 6, 1 to 5 are allowed");
    d.retry = attempts(2);
    d.retry.backoff_min_ms = 6000;
    assert_int_equal(ensign_call_open(w->client, &d).id, 0);
    assert_string_equal(ensign_error(w->client)->text,
                        "call: retry.backoff_min_ms is 6000, above backoff_max_ms 5000; lower the one or "
                        "raise the other");
    d.retry.backoff_max_ms = 3600001;
    assert_int_equal(ensign_call_open(w->client, &d).id, 0);
    assert_string_equal(ensign_error(w->client)->text,
                        "call: retry.backoff_max_ms is 3600001, 1 to 3600000 are allowed");
    d.retry = attempts(2);
    d.retry.statuses = 1u << ENSIGN_GRPC_OK | 1u << ENSIGN_GRPC_UNAVAILABLE;
    assert_int_equal(ensign_call_open(w->client, &d).id, 0);
    assert_string_equal(ensign_error(w->client)->text,
                        "call: retry.statuses is 0x4001; only bits 1 to 16 are allowed, 1u << "
                        "ENSIGN_GRPC_UNAVAILABLE and its like, never that of OK");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(a_call_is_tried_again_until_it_is_answered), IN_MODES(the_last_attempt_s_status_is_given),
        IN_MODES(a_call_without_a_retry_has_one_attempt), IN_MODES(other_statuses_end_the_call),
        IN_MODES(headers_end_the_attempts), IN_MODES(a_page_is_not_headers),
        IN_MODES(messages_are_sent_again_from_the_first), IN_MODES(a_reserve_survives_a_wait),
        IN_MODES(a_request_that_outgrows_its_buffer_has_no_other_attempt),
        IN_MODES(room_is_given_after_a_wait), IN_MODES(a_streaming_call_tells_why_it_waits),
        IN_MODES(the_text_of_a_timeout_tells_why_a_unary_call_waits),
        IN_MODES(waits_are_drawn_under_a_limit_that_doubles), IN_MODES(the_server_says_when_to_come_back),
        IN_MODES(draws_begin_anew_behind_the_server_s_word), IN_MODES(the_server_forbids_another_attempt),
        IN_MODES(a_deadline_counts_for_all_attempts), IN_MODES(a_deadline_that_passes_during_a_wait),
        IN_MODES(a_bucket_of_tokens_ends_the_attempts_of_all_calls),
        IN_MODES(the_bucket_is_not_to_be_half_empty), IN_MODES(cancel_during_a_wait),
        IN_MODES(close_during_a_wait), IN_MODES(forget_and_destroy_during_a_wait),
        IN_MODES(goaway_during_a_wait), IN_MODES(a_lost_connection_is_an_attempt_that_failed),
        IN_MODES(a_refused_stream_is_no_attempt), IN_MODES(a_stream_above_a_goaway_is_no_attempt),
        IN_MODES(a_wait_holds_no_stream), IN_MODES(attempts_that_cannot_be_sent),
        IN_MODES(a_new_token_between_two_attempts), IN_MODES(the_longest_match_counts),
        IN_MODES(a_call_s_own_desc_goes_before), IN_MODES(requests_are_not_tried_by_it),
        IN_MODES(errors_of_a_call_s_retry),
    };
    return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}
