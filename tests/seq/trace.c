/* A window to look through: the trace hook's frames, ensign_link_info, and the log's lines about states. */
#include "service.h"
#include "calls.h"

enum { LINES = 4000, LINE = 1400 };

/* What the hooks were told, in order; `frames` and `log` are lines. */
static struct {
    char (*out)[LINE], (*in)[LINE];
    size_t out_count, in_count;
    uint64_t out_bytes, in_bytes;   /* of frames of HTTP/2, with their headers */
    unsigned on_link[ENSIGN_MAX_LINKS];
    bool cut;
    char log[LINES][300];
    size_t log_count;
} seen;

static void on_trace(void *user, const ensign_frame_t *f)
{
    char *line;
    (void)user;
    assert_true(f->link >= 0 && f->link < ENSIGN_MAX_LINKS);
    assert_true(seen.out_count < LINES && seen.in_count < LINES);
    seen.on_link[f->link]++;
    seen.cut = seen.cut || f->names_cut;
    if (f->type < ENSIGN_FRAME_REQUEST) *(f->out ? &seen.out_bytes : &seen.in_bytes) += 9 + f->length;
    line = f->out ? seen.out[seen.out_count++] : seen.in[seen.in_count++];
    assert_in_range(ensign_frame_text(f, line, LINE), 10, LINE - 1);
}

static void on_log(void *user, int level, const char *text)
{
    (void)user;
    assert_true(seen.log_count < LINES);
    snprintf(seen.log[seen.log_count++], sizeof seen.log[0], "%d %s", level, text);
}

static void forget(void)
{
    seen.out_count = seen.in_count = seen.log_count = 0;
    seen.out_bytes = seen.in_bytes = 0;
    seen.cut = false;
    memset(seen.on_link, 0, sizeof seen.on_link);
}

static int lines(void **state)
{
    (void)state;
    seen.out = (char (*)[LINE])calloc(LINES, LINE);
    seen.in = (char (*)[LINE])calloc(LINES, LINE);
    return seen.out && seen.in ? 0 : -1;
}

static int no_lines(void **state)
{
    (void)state;
    free(seen.out);
    free(seen.in);
    return 0;
}

static void watch(world_t *w)
{
    forget();
    w->desc.trace = on_trace;
}

/* The line that is next is this one. */
static void expect(char (*line)[LINE], size_t count, size_t *at, const char *want)
{
    if (*at >= count) fail_msg("no line %zu, \"%s\" was to come", *at, want);
    assert_string_equal(line[*at], want);
    ++*at;
}

#define out_is(at, text) expect(seen.out, seen.out_count, at, text)
#define in_is(at, text) expect(seen.in, seen.in_count, at, text)

/* How many lines have these words. */
static size_t out_has(const char *words)
{
    size_t n = 0;
    for (size_t i = 0; i < seen.out_count; i++) n += strstr(seen.out[i], words) != NULL;
    return n;
}

static size_t in_has(const char *words)
{
    size_t n = 0;
    for (size_t i = 0; i < seen.in_count; i++) n += strstr(seen.in[i], words) != NULL;
    return n;
}

/* Nothing went over the wire that was not told, and nothing was told that did not. */
static void all_is_told(world_t *w)
{
    enum { PREFACE = 24 };
    ensign_stats_t stats;
    world_settle(w);
    assert_int_equal(ensign_stats(w->client, ENSIGN_CLIENT, &stats), ENSIGN_OK);
    assert_int_equal(seen.out_bytes + PREFACE * (w->connected > 0 ? w->connected : 1), stats.bytes_out);
    assert_int_equal(seen.in_bytes, stats.bytes_in);
}

/* ------------------------------------------------------------------ frames */
SCRIPT(a_call_is_told_frame_by_frame)
{
    static const ensign_header_t metadata[] = {
        { "x-one", { (const uint8_t *)"1", 1 } }, { "x-two-bin", { (const uint8_t *)"\x01\x02", 2 } } };
    ensign_call_desc_t d = unary("question");
    stream_t *s;
    size_t at = 0;
    uint32_t k;
    d.metadata = metadata;
    d.metadata_count = 2;
    d.deadline_ms = 5000;
    watch(w);
    world_setting(w, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 7);
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    peer_headers(s, "200", "content-type", "application/grpc", "x-server", "hidden", NULL);
    peer_message(s, "answer", 6);
    peer_finish(s, 0, NULL, NULL);
    world_reply(w, k, ENSIGN_GRPC_OK);
    all_is_told(w);

    out_is(&at, "> rpc SETTINGS stream=0 flags=0 length=18 ENABLE_PUSH=0 INITIAL_WINDOW_SIZE=0 "
                "MAX_HEADER_LIST_SIZE=65536");
    out_is(&at, "> rpc WINDOW_UPDATE stream=0 flags=0 length=4 increment=983041");
    out_is(&at, "> rpc SETTINGS stream=0 flags=ACK length=0");
    assert_true(at < seen.out_count);
    assert_non_null(strstr(seen.out[at], "> rpc HEADERS stream=1 flags=END_HEADERS length="));
    assert_non_null(strstr(seen.out[at++], " :method :scheme :path :authority te content-type user-agent "
                                           "grpc-timeout x-one x-two-bin"));
    out_is(&at, "> rpc DATA stream=1 flags=END_STREAM length=13");
    out_is(&at, "> rpc WINDOW_UPDATE stream=1 flags=0 length=4 increment=65536");
    assert_int_equal(at, seen.out_count);

    at = 0;
    in_is(&at, "< rpc SETTINGS stream=0 flags=0 length=6 MAX_CONCURRENT_STREAMS=7");
    in_is(&at, "< rpc SETTINGS stream=0 flags=ACK length=0");
    assert_non_null(strstr(seen.in[at], "< rpc HEADERS stream=1 flags=END_HEADERS length="));
    assert_non_null(strstr(seen.in[at++], " :status content-type x-server"));
    assert_int_equal(in_has("< rpc DATA stream=1 "), seen.in_count - 4);
    assert_non_null(strstr(seen.in[seen.in_count - 1], "flags=END_STREAM+END_HEADERS"));
    assert_non_null(strstr(seen.in[seen.in_count - 1], " grpc-status"));
    assert_false(seen.cut);
}

/* What nghttp2 passes over is told too: the DATA of a stream that we have reset. */
SCRIPT(frames_of_streams_that_are_reset_are_told)
{
    ensign_call_desc_t d = streaming();
    stream_t *s;
    uint32_t k;
    watch(w);
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    peer_headers(s, "200", "content-type", "application/grpc", NULL);
    send_pattern(s, 0, 30000);
    world_until(w, in_has("HEADERS stream=1") > 0);
    assert_int_equal(ensign_cancel(w->client, k), ENSIGN_OK);
    world_end(w, k, ENSIGN_GRPC_CANCELLED);
    all_is_told(w);
    assert_int_equal(out_has("> rpc RST_STREAM stream=1 flags=0 length=4 CANCEL"), 1);
}

SCRIPT(padding_pings_and_resets_are_told)
{
    ensign_call_desc_t d = streaming();
    stream_t *s;
    uint32_t k;
    watch(w);
    world_create(w);
    k = call(w, &d);
    s = world_stream(w, 0);
    s->pad = 20;
    peer_headers(s, "200", "content-type", "application/grpc", NULL);
    peer_message(s, "padded", 6);
    world_expect(w, k, ENSIGN_NOTICE_HEADERS);
    world_expect(w, k, ENSIGN_NOTICE_MESSAGE);
    assert_int_equal(nghttp2_submit_ping(s->conn->session, NGHTTP2_FLAG_NONE, NULL), 0);
    peer_reset(s, NGHTTP2_ENHANCE_YOUR_CALM);
    world_end(w, k, ENSIGN_GRPC_RESOURCE_EXHAUSTED);
    all_is_told(w);
    assert_true(in_has("< rpc DATA stream=1 flags=PADDED length=") > 0);
    assert_int_equal(in_has("< rpc PING stream=0 flags=0 length=8"), 1);
    assert_int_equal(out_has("> rpc PING stream=0 flags=ACK length=8"), 1);
    assert_int_equal(in_has("< rpc RST_STREAM stream=1 flags=0 length=4 ENHANCE_YOUR_CALM"), 1);
}

/* A field that breaks HTTP/2 ends its stream: its name tells which one it was. */
SCRIPT(the_name_of_a_refused_field_is_told)
{
    ensign_call_desc_t d = unary("q");
    uint32_t k;
    watch(w);
    world_create(w);
    k = call(w, &d);
    peer_only(world_stream(w, 0), "200", "content-type", "application/grpc", "x-bad", "a\x01z", NULL);
    world_reply(w, k, ENSIGN_GRPC_INTERNAL);
    all_is_told(w);
    assert_int_equal(in_has(":status content-type x-bad"), 1);
    assert_int_equal(out_has("> rpc RST_STREAM stream=1 flags=0 length=4 PROTOCOL_ERROR"), 1);
}

/* More names than there is room for: the first ones are told, and that there were more. */
SCRIPT(names_without_room_are_cut)
{
    bytes_t fields = {0};
    ensign_call_desc_t d = unary("q");
    char name[24];
    stream_t *s;
    watch(w);
    world_create(w);
    call(w, &d);
    s = world_stream(w, 0);
    peer_add(&fields, ":status", "200");
    peer_add(&fields, "content-type", "application/grpc");
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "x-name-number-%d", i);
        peer_add(&fields, name, "v");
    }
    peer_start(s, &fields, false);
    world_until(w, in_has("HEADERS stream=1") > 0);
    all_is_told(w);
    assert_true(seen.cut);
    assert_int_equal(in_has(":status content-type x-name-number-0 x-name-number-1 "), 1);
    assert_int_equal(in_has("x-name-number-99"), 0);
    assert_string_equal(seen.in[seen.in_count - 1] + strlen(seen.in[seen.in_count - 1]) - 4, " ...");
    bytes_free(&fields);
}

/* Our headers fill more than one frame: all names are told with the first, the rest is CONTINUATION. */
SCRIPT(continuations_are_told)
{
    static uint8_t value[30000];
    ensign_header_t metadata = { "x-large", { value, sizeof value } };
    ensign_call_desc_t d = unary("q");
    if (w->mode == BYTE) return;        /* nghttp2's server does not take a CONTINUATION in so many pieces */
    memset(value, '~', sizeof value);
    d.metadata = &metadata;
    d.metadata_count = 1;
    watch(w);
    world_create(w);
    call(w, &d);
    world_stream(w, 0);
    all_is_told(w);
    assert_int_equal(out_has("> rpc HEADERS stream=1 flags=0 length=16384 :method "), 1);
    assert_int_equal(out_has("> rpc CONTINUATION stream=1 flags=END_HEADERS length="), 1);
}

/* The connection of a GOAWAY drains while the next one is made: each has a link of its own. */
SCRIPT(a_second_connection_has_a_name_of_its_own)
{
    ensign_call_desc_t d = streaming();
    uint32_t k;
    watch(w);
    world_create(w);
    k = call(w, &d);
    world_stream(w, 0);
    peer_goaway(w, 1, NGHTTP2_NO_ERROR, "words of the server");
    world_until(w, in_has("GOAWAY") > 0);
    call(w, &d);
    world_stream(w, 1);
    assert_int_equal(in_has("< rpc GOAWAY stream=0 flags=0 length=27 NO_ERROR last_stream=1"), 1);
    assert_int_equal(out_has("> rpc-2 HEADERS stream=1 "), 1);
    assert_true(seen.on_link[ENSIGN_LINK_RPC_2] >= 5);
    assert_int_equal(ensign_forget(w->client, k), ENSIGN_OK);
}

/* A server that breaks HTTP/2: the frame that ends the session is told as well. */
SCRIPT(the_frame_that_ends_a_session_is_told)
{
    static const uint8_t bad[] = { 0, 0, 3, 6, 0, 0, 0, 0, 0, 'a', 'b', 'c' };  /* a PING of 3 bytes */
    ensign_call_desc_t d = streaming();
    watch(w);
    world_create(w);
    call(w, &d);
    world_stream(w, 0);
    world_settle(w);
    bytes_add(&w->conn[ENSIGN_LINK_RPC]->out, bad, sizeof bad);
    w->conn[ENSIGN_LINK_RPC]->goaway = true;
    world_expect(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CONNECTED);
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_DISCONNECTED);
    /* byte by byte the session has ended before the frame is whole */
    assert_int_equal(in_has("< rpc PING stream=0 flags=0 length=3"), w->mode != BYTE);
    assert_int_equal(out_has("> rpc GOAWAY stream=0"), 1);
    assert_int_equal(out_has("FRAME_SIZE_ERROR"), 1);
}

/* ------------------------------------------------------------------ HTTP/1.1 */
SCRIPT(the_auth_exchange_is_told)
{
    char want[200];
    watch(w);
    w->auth_chunked = w->mode == RANDOM;
    world_create_with_key(w);
    ensign_call_desc_t d = unary("q");
    call(w, &d);
    world_stream(w, 0);
    snprintf(want, sizeof want,
             "> auth REQUEST length=%zu POST /v1/authenticate Host User-Agent Accept Content-Type "
             "Content-Length Connection",
             strlen(w->auth_body));
    assert_int_equal(out_has(want), 1);
    assert_int_equal(in_has("< auth ANSWER length="), 1);
    assert_int_equal(in_has(w->auth_chunked ? " status=200 Transfer-Encoding X-Trailer"
                                            : " status=200 Content-Type Content-Length"), 1);
    assert_int_equal(seen.on_link[ENSIGN_LINK_AUTH], 2);
}

SCRIPT(a_refused_key_is_told_by_its_status)
{
    ensign_call_desc_t d = unary("q");
    watch(w);
    w->auth_manual = true;
    world_create_with_key(w);
    call(w, &d);
    world_until(w, w->auth_requests > 0);
    auth_answer(w, 403, "{\"error\":\"no\"}");
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_FAILED);
    assert_int_equal(in_has("< auth ANSWER length=14 status=403"), w->mode >= 0);
}

/* ------------------------------------------------------------------ what it costs */
/* Without the hook nothing is taken for it, and the bound knows of it. */
SCRIPT(only_a_hook_takes_memory)
{
    ensign_stats_t with, without;
    size_t bound = ensign_memory_bound(&w->desc);
    world_create(w);
    assert_int_equal(ensign_stats(w->client, ENSIGN_CLIENT, &without), ENSIGN_OK);
    ensign_destroy(w->client);
    watch(w);
    assert_true(ensign_memory_bound(&w->desc) > bound);
    bound = ensign_memory_bound(&w->desc) - bound;
    world_create(w);
    assert_int_equal(ensign_stats(w->client, ENSIGN_CLIENT, &with), ENSIGN_OK);
    assert_true(with.memory > without.memory);
    assert_true(with.memory - without.memory <= bound);
}

SCRIPT(no_memory_for_the_hook_is_an_error_of_create)
{
    unsigned failed = 0;
    watch(w);
    for (w->fail_at = 1; failed < 100; w->fail_at = w->allocs + 1) {
        int rc;
        uint64_t first = ++failed;
        w->allocs = 0;
        w->fail_at = first;
        rc = ensign_create(&w->desc, &w->client, &w->why);
        if (rc == ENSIGN_OK) break;
        assert_int_equal(rc, ENSIGN_E_MEMORY);
        assert_null(w->client);
        assert_int_equal(w->live, 0);
    }
    assert_in_range(failed, 4, 20);
    w->fail_at = 0;
}

/* ------------------------------------------------------------------ text */
static void a_frame_as_text(void **state)
{
    ensign_setting_t settings[] = { { 5, 16384 }, { 0x4444, 1 } };
    ensign_frame_t f;
    char text[200];
    int len;
    (void)state;
    memset(&f, 0, sizeof f);
    f.type = 0xBE;
    f.flags = 0x81;
    f.link = ENSIGN_LINK_RPC_2;
    f.stream = INT32_MAX;
    len = ensign_frame_text(&f, text, sizeof text);
    assert_int_equal(len, strlen(text));
    assert_string_equal(text, "< rpc-2 type-190 stream=2147483647 flags=0x81 length=0");
    memset(&f, 0, sizeof f);
    f.out = true;
    f.type = ENSIGN_FRAME_SETTINGS;
    f.flags = 0x3;
    f.settings = settings;
    f.setting_count = 2;
    f.length = 12;
    len = ensign_frame_text(&f, text, sizeof text);
    assert_string_equal(text, "> rpc SETTINGS stream=0 flags=ACK+0x2 length=12 MAX_FRAME_SIZE=16384 0x4444=1");
    assert_int_equal(ensign_frame_text(&f, NULL, 0), len);      /* as snprintf */
    assert_int_equal(ensign_frame_text(&f, text, 10), len);
    assert_string_equal(text, "> rpc SET");
    f.link = 99;
    assert_true(ensign_frame_text(&f, text, sizeof text) > 0);
    assert_memory_equal(text, "> ? SETTINGS", 12);
    assert_int_equal(ensign_frame_text(NULL, text, sizeof text), ENSIGN_E_ARGUMENT);
    assert_string_equal(ensign_frame_name(ENSIGN_FRAME_CONTINUATION), "CONTINUATION");
    assert_string_equal(ensign_frame_name(ENSIGN_FRAME_PUSH_PROMISE), "PUSH_PROMISE");
    assert_string_equal(ensign_frame_name(ENSIGN_FRAME_ANSWER), "ANSWER");
    assert_string_equal(ensign_frame_name(10), "?");
    assert_string_equal(ensign_frame_name(-1), "?");
}

/* ------------------------------------------------------------------ link info */
static bool is_zero(const ensign_link_info_t *i)
{
    return !i->endpoint && !i->address && !i->proxy && !i->tls_version && !i->cipher && !i->alpn &&
           !i->resumed && i->ping_ms == -1 && i->age_ms == 0;
}

SCRIPT(a_link_tells_of_its_connection)
{
    ensign_link_info_t info;
    ensign_call_desc_t d = streaming();
    uint32_t k;
    w->desc.keepalive_ms = 5000;
    world_create(w);
    assert_int_equal(ensign_link_info(w->client, ENSIGN_LINK_RPC, &info), ENSIGN_E_STATE);
    assert_true(is_zero(&info));
    assert_int_equal(ensign_link_info(w->client, ENSIGN_MAX_LINKS, &info), ENSIGN_E_ARGUMENT);
    assert_int_equal(ensign_link_info(w->client, -1, &info), ENSIGN_E_ARGUMENT);
    assert_true(is_zero(&info));
    assert_int_equal(ensign_error(w->client)->code, ENSIGN_OK);
    k = call(w, &d);
    world_stream(w, 0);
    world_pass(w, 3000);
    assert_int_equal(ensign_link_info(w->client, ENSIGN_LINK_RPC, &info), ENSIGN_OK);
    assert_string_equal(info.endpoint, "localhost:5356");
    assert_string_equal(info.address, "127.0.0.1");     /* though the round is over */
    assert_null(info.proxy);
    assert_null(info.tls_version);
    assert_null(info.cipher);
    assert_null(info.alpn);
    assert_false(info.resumed);
    assert_int_equal(info.ping_ms, -1);
    assert_in_range(info.age_ms, 2990, 3010);
    assert_int_equal(ensign_link_info(w->client, ENSIGN_LINK_AUTH, &info), ENSIGN_E_STATE);
    assert_int_equal(ensign_link_info(w->client, ENSIGN_LINK_RPC_2, &info), ENSIGN_E_STATE);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    assert_int_equal(ensign_link_info(w->client, ENSIGN_LINK_RPC, &info), ENSIGN_E_STATE);
    assert_true(is_zero(&info));
    assert_int_equal(ensign_forget(w->client, k), ENSIGN_OK);
}

/* The round trip of a PING: from the step that sends it to the one that brings its answer. */
SCRIPT(a_ping_tells_how_long_its_answer_took)
{
    ensign_link_info_t info;
    ensign_call_desc_t d = streaming();
    w->desc.keepalive_ms = 5000;
    w->desc.keepalive_timeout_ms = 2000;
    world_create(w);
    call(w, &d);
    world_stream(w, 0);
    world_pass(w, 4990);
    w->links = 0;                       /* no byte moves, in neither direction */
    world_pass(w, 700);
    assert_int_equal(ensign_link_info(w->client, ENSIGN_LINK_RPC, &info), ENSIGN_OK);
    assert_int_equal(info.ping_ms, -1);
    w->links = ENSIGN_MAX_LINKS;
    world_settle(w);
    assert_int_equal(ensign_link_info(w->client, ENSIGN_LINK_RPC, &info), ENSIGN_OK);
    assert_in_range(info.ping_ms, 680, 700);
    world_pass(w, 5500);
    assert_int_equal(w->conn[ENSIGN_LINK_RPC]->pings, 2);
    assert_int_equal(ensign_link_info(w->client, ENSIGN_LINK_RPC, &info), ENSIGN_OK);
    assert_in_range(info.ping_ms, 0, 10);
    world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
    d.wait_for_ready = true;
    call(w, &d);
    world_stream(w, 1);
    assert_int_equal(ensign_link_info(w->client, ENSIGN_LINK_RPC, &info), ENSIGN_OK);
    assert_int_equal(info.ping_ms, -1); /* of another connection */
}

/* A server may send the ACK of a PING that was never sent. */
SCRIPT(an_ack_of_no_ping_is_no_round_trip)
{
    static const uint8_t ack[] = { 0, 0, 8, 6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9 };
    ensign_link_info_t info;
    ensign_call_desc_t d = streaming();
    watch(w);
    world_create(w);
    call(w, &d);
    world_stream(w, 0);
    world_settle(w);
    bytes_add(&w->conn[ENSIGN_LINK_RPC]->out, ack, sizeof ack);
    world_pass(w, 100);
    assert_int_equal(in_has("< rpc PING stream=0 flags=ACK length=8"), 1);
    assert_int_equal(ensign_link_info(w->client, ENSIGN_LINK_RPC, &info), ENSIGN_OK);
    assert_int_equal(info.ping_ms, -1);
}

/* ------------------------------------------------------------------ the log's lines about states */
/* The lines of the log, from the at-th on, are these, but for what stands behind "..." in one. */
static void log_is(size_t *at, const char *want)
{
    const char *dots = strstr(want, "...");
    if (*at >= seen.log_count) fail_msg("no log line %zu, \"%s\" was to come", *at, want);
    if (dots) assert_memory_equal(seen.log[*at], want, (size_t)(dots - want));
    else assert_string_equal(seen.log[*at], want);
    ++*at;
}

SCRIPT(states_of_a_publisher_and_its_link_are_logged)
{
    ensign_publisher_desc_t pd;
    ensign_publisher_t p;
    stream_t *s;
    size_t at = 0;
    memset(&pd, 0, sizeof pd);
    pd.topic = "weather";
    forget();
    w->desc.log = on_log;
    world_create(w);
    p = ensign_publisher_open(w->client, &pd);
    s = world_stream(w, 0);
    world_request(w, s);
    service_ready(s, 3);
    world_expect(w, p.id, ENSIGN_NOTICE_OPEN);
    peer_refuse(s, ENSIGN_GRPC_UNAVAILABLE, "in maintenance");
    world_waiting(w, p.id, "in maintenance");
    s = world_stream(w, 1);
    world_request(w, s);
    service_ready(s, 3);
    world_expect(w, p.id, ENSIGN_NOTICE_OPEN);
    assert_int_equal(ensign_close(w->client, p.id, 1000), ENSIGN_OK);
    world_until(w, s->half_closed);
    service_close(s);
    world_end(w, p.id, ENSIGN_GRPC_OK);

    log_is(&at, "4 publisher 1: opened");
    log_is(&at, "4 rpc: resolving localhost");
    log_is(&at, "4 publisher 1: queued, waiting for a connection to localhost:5356");
    log_is(&at, "4 rpc: connecting to localhost:5356, addresses: 1, first 127.0.0.1");
    log_is(&at, "4 rpc: running, to 127.0.0.1");
    log_is(&at, "3 rpc: connected to localhost:5356");
    log_is(&at, "4 publisher 1: sent /ensign.v1beta1.Ensign/Publish, stream 1 of rpc");
    log_is(&at, "4 publisher 1: open, time 1");
    log_is(&at, "4 publisher 1: opens again in ...");
    log_is(&at, "2 publisher 1 waits: grpc: /ensign.v1beta1.Ensign/Publish answers UNAVAILABLE: in maintenance");
    log_is(&at, "4 publisher 1: sent /ensign.v1beta1.Ensign/Publish, stream 3 of rpc");
    log_is(&at, "4 publisher 1: open, time 2");
    log_is(&at, "4 publisher 1: closing");
    log_is(&at, "4 publisher 1: ended");
    assert_int_equal(at, seen.log_count);
}

SCRIPT(the_end_of_a_client_is_logged)
{
    ensign_call_desc_t d = streaming();
    size_t at;
    forget();
    w->desc.log = on_log;
    world_create(w);
    call(w, &d);
    world_stream(w, 0);
    world_settle(w);
    at = seen.log_count;
    assert_int_equal(ensign_cancel(w->client, call(w, &d)), ENSIGN_OK);
    assert_int_equal(ensign_forget(w->client, call(w, &d)), ENSIGN_OK);
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 300), ENSIGN_OK);
    world_await(w, ENSIGN_CLIENT, ENSIGN_NOTICE_CLOSED);
    world_settle(w);
    log_is(&at, "4 call 2: opened");
    log_is(&at, "4 call 2: ended: call: cancelled by this program");
    log_is(&at, "4 call 3: opened");
    log_is(&at, "4 call 3: forgotten");
    log_is(&at, "4 client: closing");
    log_is(&at, "4 call 1: closing");
    log_is(&at, "4 call 1: ended: call: not ended within the time of ensign_close...");
    log_is(&at, "4 client: closed");
    log_is(&at, "4 rpc: hanging up");
    log_is(&at, "4 rpc: idle");
    assert_int_equal(at, seen.log_count);
}

SCRIPT(states_of_auth_and_of_the_backoff_are_logged)
{
    ensign_call_desc_t d = unary("q");
    size_t at = 0, n;
    uint32_t k;
    forget();
    w->desc.log = on_log;
    w->auth_manual = true;
    w->dial[ENSIGN_LINK_RPC] = DIAL_REFUSE;
    d.wait_for_ready = true;
    world_create_with_key(w);
    k = call(w, &d);
    world_until(w, w->auth_requests == 1);
    auth_answer(w, 503, "{\"error\":\"not now\"}");
    world_until(w, w->auth_requests == 2);
    w->dial[ENSIGN_LINK_RPC] = DIAL_ACCEPT;
    auth_grant(w);
    peer_finish(world_stream(w, 0), ENSIGN_GRPC_NOT_FOUND, "no such thing", NULL);
    world_reply(w, k, ENSIGN_GRPC_NOT_FOUND);
    world_settle(w);
    static const char *const want[] = {
        "4 call 1: opened",
        "4 auth: asking localhost:8088 for a token by the key",
        "4 auth: resolving localhost",
        "4 auth: running, to 127.0.0.1",
        "2 auth: localhost:8088 answers HTTP 503: not now; trying again",
        "4 auth: next attempt in ",
        "4 auth: hanging up",
        "4 auth: idle",
        "4 auth: asking localhost:8088 for a token by the key",
        "4 auth: a token from localhost:8088",
        "4 call 1: sent /test.Service/Method, stream 1 of rpc",
        "4 call 1: ended: grpc: /test.Service/Method answers NOT_FOUND: no such thing",
    };
    for (size_t i = 0; i < COUNT(want); i++) {   /* in this order, with others between them */
        while (at < seen.log_count && strncmp(seen.log[at], want[i], strlen(want[i])) != 0) at++;
        if (at++ >= seen.log_count) fail_msg("the log has no \"%s\" in its place", want[i]);
    }
    for (n = at = 0; at < seen.log_count; at++)
        n += strncmp(seen.log[at], "4 rpc: next attempt in ", 23) == 0 &&
             strstr(seen.log[at], " ms, failures in a row: ") != NULL;
    assert_true(n >= 1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_MODES(a_call_is_told_frame_by_frame),
        IN_MODES(frames_of_streams_that_are_reset_are_told),
        IN_MODES(padding_pings_and_resets_are_told),
        IN_MODES(the_name_of_a_refused_field_is_told),
        IN_MODES(names_without_room_are_cut),
        IN_MODES(continuations_are_told),
        IN_MODES(a_second_connection_has_a_name_of_its_own),
        IN_MODES(the_frame_that_ends_a_session_is_told),
        IN_MODES(the_auth_exchange_is_told),
        IN_MODES(a_refused_key_is_told_by_its_status),
        IN_MODES(only_a_hook_takes_memory),
        IN_MODES(no_memory_for_the_hook_is_an_error_of_create),
        cmocka_unit_test(a_frame_as_text),
        IN_MODES(a_link_tells_of_its_connection),
        IN_MODES(a_ping_tells_how_long_its_answer_took),
        IN_MODES(an_ack_of_no_ping_is_no_round_trip),
        IN_MODES(states_of_a_publisher_and_its_link_are_logged),
        IN_MODES(the_end_of_a_client_is_logged),
        IN_MODES(states_of_auth_and_of_the_backoff_are_logged),
    };
    return cmocka_run_group_tests_name("trace", tests, lines, no_lines);
}
