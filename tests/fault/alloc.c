/* One session of everything, over and over: with the Nth allocation failing, for every N, and with a link cut
   at the Nth byte, for every N. Whatever is opened must say how it ended; nothing may leak. */
#include "../seq/kinds.h"

enum { EVENTS = 6, ROWS = 3 };

/* Beside one request of each kind. Those from WATCH on end when the client closes, or something fails. */
enum { QUERY = COUNT(kinds), MAKE, AUTH_STATUS, UNARY, OTHERS, WATCH = OTHERS, HANDLES };

typedef struct session_t {
    ensign_publisher_t pub;
    ensign_subscription_t sub;
    uint32_t call, others[HANDLES];
    int put;                        /* events that were accepted */
    int answers[EVENTS];            /* ACK and NACK of each */
    bool pub_end, sub_end, call_end, other_end[HANDLES];
    int events, gaps, messages, replies, rows, failed;      /* failed: of the others, but for WATCH */
    bool closing;
    uint64_t due;
} session_t;

static session_t session;

/* ------------------------------------------------------------------ the server */
static void serve_subscription(stream_t *s)
{
    uint64_t i;
    if (s->stage) return;
    s->stage = 1;
    service_ready(s, 2);
    for (i = 0; i < 5; i++) service_deliver(s, i, "delivered", 9);
}

static void serve_query(stream_t *s)
{
    int i;
    for (i = 0; i < ROWS; i++) {
        bytes_t event = {0}, row = {0};
        enc_text(&event, 2, "a row");
        enc_message(&row, 9, &event);
        peer_send(s, &row);
    }
    peer_finish(s, 0, NULL, NULL);
}

static bool serve_request(stream_t *s, const char *path)
{
    size_t i;
    for (i = 0; i < COUNT(kinds); i++) {
        if (strcmp(path, kinds[i].method) != 0) continue;
        kind_answer(&kinds[i], s);
        return true;
    }
    return false;
}

/* Each call is answered in its second attempt. */
static void serve_call(stream_t *s, ensign_slice_t m)
{
    if (peer_field(s, "grpc-previous-rpc-attempts")) peer_message(s, m.ptr, m.len);
    else peer_refuse(s, ENSIGN_GRPC_UNAVAILABLE, "busy");
}

static void serve(world_t *w, stream_t *s, ensign_slice_t m)
{
    const char *path = peer_field(s, ":path");
    if (strstr(path, "/Publish")) service_publish(w, s, m);
    else if (strstr(path, "/Subscribe")) serve_subscription(s);
    else if (strstr(path, "/EnSQL")) serve_query(s);
    else if (strstr(path, "/Watch")) peer_message(s, "\x08\x01", 2);
    else if (!serve_request(s, path)) serve_call(s, m);
}

static void serve_end(world_t *w, stream_t *s)
{
    const char *path = peer_field(s, ":path");
    (void)w;
    if (s->done || strstr(path, "/Subscribe") || strstr(path, "/Watch")) return;
    if (strstr(path, "/Publish")) service_close(s);
    else peer_finish(s, 0, NULL, NULL);
}

/* ------------------------------------------------------------------ the program */
static void open_others(world_t *w)
{
    ensign_query_desc_t q;
    ensign_call_desc_t c;
    size_t i;
    memset(&q, 0, sizeof q);
    memset(&c, 0, sizeof c);
    c.method = "/test.Service/Echo";
    c.request = text_slice("echo");
    c.unary = c.wait_for_ready = true;
    q.sql = "SELECT * FROM weather";
    for (i = 0; i < COUNT(kinds); i++) session.others[i] = kinds[i].open(w, NULL).id;
    session.others[QUERY] = ensign_query_open(w->client, &q).id;
    session.others[MAKE] = ensign_topic_ensure(w->client, "made", NULL).id;
    if (w->desc.auth_url) session.others[AUTH_STATUS] = ensign_auth_status(w->client, NULL).id;
    session.others[UNARY] = ensign_call_open(w->client, &c).id;
    session.others[WATCH] = ensign_health(w->client, "default", true, NULL).id;
    for (i = 0; i < HANDLES; i++) session.other_end[i] = !session.others[i];
}

static void open_all(world_t *w)
{
    ensign_publisher_desc_t p;
    ensign_subscription_desc_t s;
    ensign_call_desc_t c;
    memset(&p, 0, sizeof p);
    memset(&s, 0, sizeof s);
    memset(&c, 0, sizeof c);
    p.topic = "weather";
    p.buffer_bytes = 4096;
    session.pub = ensign_publisher_open(w->client, &p);
    session.sub = ensign_subscription_open(w->client, &s);
    c.method = "/test.Service/Echo";
    c.wait_for_ready = true;
    session.call = ensign_call_open(w->client, &c).id;
    open_others(w);
    session.pub_end = !session.pub.id;
    session.sub_end = !session.sub.id;
    session.call_end = !session.call;
    if (!session.pub.id || !session.sub.id || !session.call) {
        assert_true(ensign_error(w->client)->code < 0);
        assert_true(ensign_error(w->client)->text[0] != 0);
    }
}

static void put_all(world_t *w)
{
    ensign_event_t e;
    int i, rc;
    for (i = 0; i < EVENTS && session.pub.id; i++) {
        memset(&e, 0, sizeof e);
        e.data = text_slice("an event");
        e.tag = (uint64_t)session.put;
        rc = ensign_publish(w->client, session.pub, &e);
        if (rc != ENSIGN_OK)
            assert_true(rc == ENSIGN_AGAIN || rc == ENSIGN_E_MEMORY || rc == ENSIGN_E_HANDLE ||
                        rc == ENSIGN_E_STATE || rc == ENSIGN_ENDED);
        else session.put++;
    }
    if (session.call) {
        ensign_call_t k;
        k.id = session.call;
        rc = ensign_call_send(w->client, k, text_slice("echo"), 0);
        assert_true(rc == ENSIGN_OK || rc == ENSIGN_E_MEMORY || rc == ENSIGN_E_STATE || rc == ENSIGN_ENDED);
        rc = ensign_call_half_close(w->client, k);
        assert_true(rc == ENSIGN_OK || rc == ENSIGN_E_MEMORY || rc == ENSIGN_E_STATE || rc == ENSIGN_ENDED);
    }
}

static bool is_query(const ensign_notice_t *n)
{
    return session.others[QUERY] && n->handle == session.others[QUERY];
}

static void note_end(world_t *w, const ensign_notice_t *n)
{
    size_t i;
    for (i = 0; i < HANDLES; i++) {
        if (!session.others[i] || n->handle != session.others[i]) continue;
        if (session.other_end[i]) world_fail(w, "handle %d of the others ended twice", (int)i);
        session.other_end[i] = true;
        if (i != WATCH && n->error) session.failed++;
    }
    if (n->handle == session.pub.id) session.pub_end = true;
    if (n->handle == session.sub.id) session.sub_end = true;
    if (n->handle == session.call) session.call_end = true;
}

/* A unary call has one notice. */
static void note_reply(world_t *w, const ensign_notice_t *n)
{
    const ensign_notice_reply_t *r = &n->as.reply;
    if (n->type != ENSIGN_NOTICE_REPLY || !n->last) world_fail(w, "a unary call has more than a REPLY");
    if ((r->status == ENSIGN_GRPC_OK) != (n->error == NULL)) world_fail(w, "REPLY's status and error differ");
    if (r->status == ENSIGN_GRPC_OK) assert_text(r->message, "echo");
    else if (r->message.len > 0) world_fail(w, "a failed call has a message");
    session.replies++;
}

/* OPEN has as many topics as it says. */
static void note_open(world_t *w, const ensign_notice_t *n)
{
    ensign_slice_t name;
    ensign_ulid_t id;
    size_t at = 0;
    uint32_t topics = 0;
    while (ensign_open_next(w->client, n->handle, ENSIGN_OPEN_TOPICS, &at, &name, &id)) topics++;
    if (topics == 0 || topics != n->as.open.topics || n->as.open.missing != 0)
        world_fail(w, "OPEN with %u topics, %u missing, and %u listed", (unsigned)n->as.open.topics,
                   (unsigned)n->as.open.missing, (unsigned)topics);
}

static void note(world_t *w, const ensign_notice_t *n)
{
    bool end = n->type == ENSIGN_NOTICE_END || n->last;
    uint64_t tag;
    if (n->type == ENSIGN_NOTICE_END && n->as.end.status != ENSIGN_GRPC_OK && !n->error)
        world_fail(w, "END without a reason");
    if (n->type == ENSIGN_NOTICE_ACK || n->type == ENSIGN_NOTICE_NACK) {
        tag = n->type == ENSIGN_NOTICE_ACK ? n->as.ack.tag : n->as.nack.tag;
        assert_true(tag < (uint64_t)session.put);
        if (session.answers[tag]++) world_fail(w, "event %d was answered twice", (int)tag);
        if (session.pub_end) world_fail(w, "an answer after the end of the publisher");
    }
    if (n->type == ENSIGN_NOTICE_EVENT && is_query(n)) {
        session.rows++;
        assert_text(n->as.event->data, "a row");
    } else if (n->type == ENSIGN_NOTICE_EVENT) {
        session.events++;
        assert_text(n->as.event->data, "delivered");
        ensign_ack(w->client, session.sub, n->as.event->token);
    }
    if (session.others[UNARY] && n->handle == session.others[UNARY]) note_reply(w, n);
    if (n->type == ENSIGN_NOTICE_OPEN) note_open(w, n);
    if (n->type == ENSIGN_NOTICE_WAITING && !n->error) world_fail(w, "WAITING without a reason");
    if (n->type == ENSIGN_NOTICE_GAP) session.gaps++;
    if (n->type == ENSIGN_NOTICE_MESSAGE) session.messages++;
    if (end) note_end(w, n);
}

static bool answered(void)
{
    int i;
    for (i = 0; i < session.put; i++) {
        if (!session.answers[i]) return false;
    }
    return true;
}

/* How many of the first `count` others have not ended. */
static int others_left(size_t count)
{
    int left = 0;
    size_t i;
    for (i = 0; i < count; i++) left += session.other_end[i] ? 0 : 1;
    return left;
}

static bool all_well(void)
{
    return (answered() || session.pub_end) && session.call_end && others_left(OTHERS) == 0 &&
           (session.events > 0 || session.sub_end);
}

static bool all_ended(void)
{
    return session.pub_end && session.sub_end && session.call_end && others_left(HANDLES) == 0;
}

/* Goes on until everything has said how it went, then closes; a minute of the clock is a lot. */
static void run_session(world_t *w)
{
    const ensign_notice_t *n;
    uint64_t turns = 0;
    int t;
    session.due = w->now + 60000;
    while (!(session.closing && all_ended() && (w->client_closed || w->failed))) {
        bool moved = world_round(w);
        while ((n = world_pull(w, 0)) != NULL) {
            note(w, n);
            moved = true;
        }
        if (!session.closing && all_well()) {
            session.closing = true;
            session.due = w->now + 60000;
            if (ensign_close(w->client, ENSIGN_CLIENT, 5000) != ENSIGN_OK && !w->failed)
                world_fail(w, "ensign_close failed");
            moved = true;
        }
        if (++turns > 200000) world_fail(w, "no end of turns");
        if (moved) continue;
        t = ensign_timeout(w->client, w->now);
        if (t < 0) world_fail(w, "nothing is said and no timer runs");
        w->now += t > 0 ? (uint64_t)t : 1;
        if (w->now > session.due) {
            world_fail(w, "somebody was told nothing: answered %d, ends %d %d %d, others left %d, events %d, "
                       "closed %d failed %d",
                       answered(), session.pub_end, session.sub_end, session.call_end, others_left(HANDLES),
                       session.events, (int)w->client_closed, (int)w->failed);
        }
    }
    if (!answered()) world_fail(w, "a publisher ended before its events did");
}

static bool play(world_t *w)
{
    static const ensign_method_t methods[] = { { "/test.Service/", 0, { 5, 0, 0, 0 } } };
    w->desc.methods = methods;
    w->desc.method_count = COUNT(methods);
    service_reset();
    service.ack = true;
    memset(&session, 0, sizeof session);
    w->on_message = serve;
    w->on_half = serve_end;
    w->desc.auth_url = "http://localhost:8088";
    w->desc.client_id = "id";
    w->desc.client_secret = "secret";
    if (ensign_create(&w->desc, &w->client, &w->why) != ENSIGN_OK) {
        assert_null(w->client);
        assert_int_equal(w->why.code, ENSIGN_E_MEMORY);
        return false;
    }
    open_all(w);
    put_all(w);
    run_session(w);
    return true;
}

static void again(world_t *w, chunk_t mode, const char *script)
{
    world_begin(w, mode, world_base_seed());
    w->script = script;
}

/* ------------------------------------------------------------------ the sweeps */
static uint64_t count_allocs(world_t *w)
{
    uint64_t n;
    again(w, WHOLE, "without a fault");
    assert_true(play(w));
    assert_int_equal(session.events, 5);
    assert_int_equal(session.messages, 1);
    assert_int_equal(session.replies, 1);
    assert_int_equal(session.put, EVENTS);
    assert_int_equal(session.rows, ROWS);
    assert_int_equal(session.failed, 0);
    n = w->allocs;
    world_close(w);
    return n;
}

static void each_allocation_fails_once(void **state)
{
    world_t *w = &world;
    uint64_t total = count_allocs(w), n;
    (void)state;
    for (n = 1; n <= total; n += fewer()) {
        char script[64];
        snprintf(script, sizeof script, "allocation %d of %d", (int)n, (int)total);
        again(w, WHOLE, script);
        w->fault = true;
        w->fail_at = n;
        play(w);
        world_close(w);
    }
    w->finished = true;
}

static void cut_each(world_t *w, int link, bool in)
{
    int64_t total, n, step;
    again(w, WHOLE, "without a cut");
    assert_true(play(w));
    total = 0;
    for (n = 0; n < (int64_t)w->conn_count; n++) {
        conn_t *c = w->conns[n];
        if (c->link == link && c->number == 0) total = in ? c->bytes_in : c->bytes_out;
    }
    world_close(w);
    assert_true(total > 50);
    step = (1 + total / 1500) * (int64_t)fewer();
    for (n = 1; n <= total; n += step) {
        char script[64];
        snprintf(script, sizeof script, "link %d cut at byte %d %s", link, (int)n, in ? "in" : "out");
        again(w, n % 2 ? WHOLE : BYTE, script);
        if (in) w->cut_in[link] = n;
        else w->cut_out[link] = n;
        assert_true(play(w));
        if (w->failed) world_fail(w, "a cut link is not final");
        world_close(w);
    }
}

static void memory_runs_out_for_good(void **state)
{
    uint64_t total, n;
    world_t *w = &world;
    (void)state;
    total = count_allocs(w);
    for (n = 1; n <= total; n += fewer()) {
        uint64_t turns;
        again(w, WHOLE, "memory runs out for good");
        w->fault = true;
        w->fail_at = n;
        w->fail_on = true;
        service_reset();
        service.ack = true;
        memset(&session, 0, sizeof session);
        w->on_message = serve;
        w->on_half = serve_end;
        if (ensign_create(&w->desc, &w->client, &w->why) == ENSIGN_OK) {
            open_all(w);
            put_all(w);
            for (turns = 0; turns < 60; turns++) {
                const ensign_notice_t *x;
                int t;
                world_round(w);
                while ((x = world_pull(w, 0)) != NULL) note(w, x);
                t = ensign_timeout(w->client, w->now);
                w->now += t > 0 ? (uint64_t)t : 0;
            }
        }
        world_close(w);
    }
    w->finished = true;
}

/* A limit of the desc works as memory that runs out does: errors and notices, never more than the limit. */
static void a_memory_limit_is_kept(void **state)
{
    world_t *w = &world;
    size_t limit, enough = 0;
    (void)state;
    for (limit = 10000; limit < 3000000; limit += limit < 800000 ? 9000 : 1000000) {
        char script[64];
        snprintf(script, sizeof script, "memory_limit %zu", limit);
        again(w, WHOLE, script);
        w->fault = true;
        w->desc.memory_limit = limit;
        if (limit < 1500000) {
            service_reset();
            memset(&session, 0, sizeof session);
            if (ensign_create(&w->desc, &w->client, &w->why) == ENSIGN_OK) {
                open_all(w);
                put_all(w);
                world_pass(w, 3000);
            } else {
                assert_int_equal(w->why.code, ENSIGN_E_MEMORY);
            }
        } else if (play(w)) {
            enough++;
        }
        if (w->live_peak > limit) world_fail(w, "%zu bytes were held", w->live_peak);
        world_close(w);
    }
    assert_true(enough > 0);
    w->finished = true;
}

static void the_link_is_cut_at_each_byte_in(void **state)
{
    (void)state;
    cut_each(&world, ENSIGN_LINK_RPC, true);
    world.finished = true;
}

static void the_link_is_cut_at_each_byte_out(void **state)
{
    (void)state;
    cut_each(&world, ENSIGN_LINK_RPC, false);
    world.finished = true;
}

static void the_auth_link_is_cut_at_each_byte(void **state)
{
    (void)state;
    cut_each(&world, ENSIGN_LINK_AUTH, true);
    cut_each(&world, ENSIGN_LINK_AUTH, false);
    world.finished = true;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(each_allocation_fails_once, script_after),
        cmocka_unit_test_teardown(memory_runs_out_for_good, script_after),
        cmocka_unit_test_teardown(a_memory_limit_is_kept, script_after),
        cmocka_unit_test_teardown(the_link_is_cut_at_each_byte_in, script_after),
        cmocka_unit_test_teardown(the_link_is_cut_at_each_byte_out, script_after),
        cmocka_unit_test_teardown(the_auth_link_is_cut_at_each_byte, script_after),
    };
    int rc = cmocka_run_group_tests_name("fault", tests, NULL, NULL);
    service_reset();
    return rc;
}
