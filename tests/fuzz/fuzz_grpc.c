/* fuzz_grpc.c - one call against a server that does what the input says
 * Input  a byte of options, one for the cuts, then operations (see play): HEADERS, DATA, trailers,
 *        RST_STREAM, GOAWAY, SETTINGS of the server; send, pull, hold, cancel of the program; the network;
 *        time
 * Wants  exactly one END, and it is the last; of a unary call one REPLY and nothing else; messages come
 *        whole, in order and as they were sent; a call that ends OK gave all of them; what the server ended,
 *        ends; what was cancelled ends CANCELLED; what was sent, arrives; memory and credit within the
 *        bounds, and all of it back at the end. */
#include "actor.h"

enum { WINDOW = 1024, MESSAGE_MAX = 6000, PATTERN_MAX = 7000, DRAIN_MAX = 4000, ATTEMPTS = 3 };

typedef struct run_t {
    actor_t a;
    ensign_call_t call;
    bool unary, held, forgotten, ended, cancelled;
    stream_t *source; /* of the messages; NULL: none came */
    size_t at;        /* of source->out: where the next message begins */
    uint64_t messages;
    uint32_t attempts; /* the most */
} run_t;

static run_t run;

/* ------------------------------------------------------------------ the server */
static stream_t *newest(run_t *r)
{
    stream_t *s = r->a.count ? r->a.streams[r->a.count - 1] : NULL;
    return s && s->headers && !s->closed ? s : NULL;
}

static void some_fields(run_t *r, bytes_t *f, bool initial, bool last)
{
    static const char *const status[] = { "200", "200", "200", "404", "503", "2x0", "204", "302" };
    static const char *const types[] = { "application/grpc", "application/grpc", "application/grpc+proto",
                                         "text/html", "application/grpcx", "APPLICATION/GRPC", NULL, NULL };
    static const char *const codes[] = { "0", "0", "1", "7", "13", "14", "16", "17", "-1", "00", "",
                                         "4294967296" };
    static const char *const names[] = { "x-a", "x-bin", "grpc-message", "grpc-status-details-bin",
                                         "grpc-encoding", "grpc-retry-pushback-ms", "grpc-status", "X-Up" };
    uint8_t what = input_byte(&r->a);

    f->len = 0;
    if (initial) peer_add(f, ":status", status[what % 8]);
    if (initial && types[what / 8 % 8]) peer_add(f, "content-type", types[what / 8 % 8]);
    if (last && what < 0xF0) peer_add(f, "grpc-status", codes[what % (sizeof codes / sizeof codes[0])]);
    for (uint8_t n = input_byte(&r->a) % 6; n > 0; n--) {
        uint8_t name = input_byte(&r->a);
        if (name < 0xC0)
            field_add(f, ensign_str(names[name % 8]), input_short(&r->a));
        else
            field_add(f, input_short(&r->a), input_bytes(&r->a, input_byte(&r->a)));
    }
}

static void play_pattern(run_t *r, stream_t *s)
{
    static uint8_t bytes[PATTERN_MAX];
    size_t n = input_16(&r->a) % PATTERN_MAX;
    for (size_t i = 0; i < n; i++) bytes[i] = (uint8_t)(i * 31 + s->out.len);
    stream_message(s, bytes, n);
}

static void play_interim(run_t *r, stream_t *s)
{
    static const char *const status[] = { "100", "103", "199", "101" };
    nghttp2_nv nv;
    bytes_t f = { 0 };
    peer_add(&f, ":status", status[input_byte(&r->a) % 4]);
    if (peer_pairs(&f, &nv) == 1 && !s->started)
        (void)nghttp2_submit_headers(s->conn->session, NGHTTP2_FLAG_NONE, s->id, NULL, &nv, 1, NULL);
    bytes_free(&f);
}

static void play_answer(run_t *r, stream_t *s, uint8_t what)
{
    bytes_t f = { 0 };

    switch (what) {
    case 0:
    case 1:
        some_fields(r, &f, true, what == 1);
        stream_start(s, &f, what == 1);
        bytes_free(&f);
        break;
    case 2:
        play_pattern(r, s);
        break;
    case 3: {
        ensign_slice_t raw = input_short(&r->a);
        stream_write(s, raw.ptr, raw.len);
        break;
    }
    case 4:
        some_fields(r, &s->trailers, false, true);
        stream_finish(s, false);
        break;
    case 5:
        stream_finish(s, true);
        break;
    case 6:
        stream_reset(s, input_byte(&r->a) % 16);
        break;
    case 7:
        play_interim(r, s);
        break;
    case 8:
        s->frame_max = 8u + input_byte(&r->a);
        break;
    default:
        s->pad = input_byte(&r->a) % 64;
        break;
    }
}

static void play_connection(run_t *r, uint8_t what)
{
    static const int32_t ids[] = { NGHTTP2_SETTINGS_HEADER_TABLE_SIZE,
                                   NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
                                   NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, NGHTTP2_SETTINGS_MAX_FRAME_SIZE };
    actor_t *a = &r->a;
    uint8_t b = input_byte(a);
    stream_t *s = newest(r);

    switch (what) {
    case 0:
        actor_goaway(a, b % 3 ? s && b % 3 == 1 ? s->id : 0 : INT32_MAX, b / 3 % 16, input_short(a));
        break;
    case 1:
        actor_setting(a, ids[b % 4], input_16(a) * (b & 0x80 ? 300u : 1u));
        break;
    case 2:
        if (a->conn->session) (void)nghttp2_submit_ping(a->conn->session, NGHTTP2_FLAG_NONE, NULL);
        break;
    default:
        if (a->conn->session) actor_cut(a, a->conn, b & 1 ? ECONNRESET : 0);
        break;
    }
}

/* ------------------------------------------------------------------ the program */
/* The stream that the first message comes from. A call is sent again only if nothing was given. */
static stream_t *source_of(run_t *r)
{
    return r->a.count ? r->a.streams[r->a.count - 1] : NULL;
}

/* The next message that the server has sent is this one. */
static void check_bytes(run_t *r, ensign_slice_t got, bool compressed)
{
    stream_t *s = r->source ? r->source : source_of(r);
    const uint8_t *sent;

    WANT(s != NULL && s->out_at - r->at >= 5);
    sent = s->out.p + r->at;
    WANT(sent[0] == (compressed ? 1 : 0));
    WANT(ensi_get_be32(sent + 1) == got.len && s->out_at - r->at - 5 >= got.len);
    WANT(got.len <= MESSAGE_MAX);
    WANT(memcmp(sent + 5, got.ptr, got.len) == 0);
    r->source = s;
    r->at += 5 + got.len;
    r->messages++;
}

static void check_metadata(run_t *r, int which)
{
    ensign_slice_t key, value;
    size_t at = 0;
    uint32_t sum = 0;

    while (ensign_call_metadata_next(r->a.c, r->call, which, &at, &key, &value)) {
        WANT(key.len > 0 && memchr(key.ptr, '\0', key.len) == NULL);
        for (size_t i = 0; i < value.len; i++) sum += value.ptr[i];
    }
    WANT(sum != UINT32_MAX); /* each byte was read: a sanitizer has seen it */
}

/* What the last notice says of the ending, whichever it is. */
static void check_ending(run_t *r, const ensign_notice_t *n, int status, bool from_server, bool unprocessed)
{
    stream_t *s = r->source ? r->source : source_of(r);

    WANT(n->last);
    WANT((n->error == NULL) == (status == ENSIGN_GRPC_OK));
    WANT(!n->error || (n->error->code < 0 && n->error->text[0] != '\0'));
    if (unprocessed) WANT(r->messages == 0 && !from_server);
    if (status == ENSIGN_GRPC_OK) WANT(from_server && s && r->at == s->out.len);
    if (r->cancelled) WANT(status == ENSIGN_GRPC_CANCELLED && n->error->code == ENSIGN_E_CANCELLED);
    if (r->cancelled) WANT(!from_server);
    check_metadata(r, ENSIGN_HEADERS);
    check_metadata(r, ENSIGN_TRAILERS);
    r->ended = true;
}

static void check_end(run_t *r, const ensign_notice_t *n)
{
    const ensign_notice_end_t *e = &n->as.end;

    WANT(!r->unary && e->count == r->messages && e->attempts >= 1 && e->attempts <= r->attempts);
    check_ending(r, n, e->status, e->from_server, e->unprocessed);
}

/* Its one notice: the answer is there when the status is OK, and only then. */
static void check_reply(run_t *r, const ensign_notice_t *n)
{
    const ensign_notice_reply_t *e = &n->as.reply;

    WANT(r->unary && r->messages == 0 && e->attempts >= 1 && e->attempts <= r->attempts);
    if (e->status == ENSIGN_GRPC_OK) check_bytes(r, e->message, e->compressed);
    else WANT(e->message.len == 0 && !e->compressed);
    check_ending(r, n, e->status, e->from_server, e->unprocessed);
}

static void take(run_t *r, const ensign_notice_t *n)
{
    if (n->error) WANT(n->error->code != 0 && memchr(n->error->text, '\0', sizeof n->error->text) != NULL);
    if (n->handle == ENSIGN_CLIENT) return;
    WANT(n->handle == r->call.id && !r->ended && !r->forgotten);
    switch (n->type) {
    case ENSIGN_NOTICE_HEADERS:
        WANT(r->messages == 0 && !r->unary && !r->cancelled);
        check_metadata(r, ENSIGN_HEADERS);
        break;
    case ENSIGN_NOTICE_MESSAGE:
        WANT(!r->unary && !r->cancelled);
        check_bytes(r, n->as.message.bytes, n->as.message.compressed);
        break;
    case ENSIGN_NOTICE_WAITING:
        WANT(r->messages == 0 && !r->unary && !r->cancelled && n->error);
        break;
    case ENSIGN_NOTICE_ROOM:
        WANT(!r->unary && !r->cancelled);
        break;
    case ENSIGN_NOTICE_REPLY:
        check_reply(r, n);
        break;
    default:
        WANT(n->type == ENSIGN_NOTICE_END);
        check_end(r, n);
    }
}

static bool pull(run_t *r)
{
    const ensign_notice_t *n = ensign_next(r->a.c);
    if (n) take(r, n);
    return n != NULL;
}

/* Ends the call from our side, or begins to. */
static int play_ending(run_t *r, uint8_t how)
{
    const ensi_handle_t *h = ensi_handle_find(&r->a.c->handles, r->call.id);
    bool alive = h && !h->ended, under_way = alive && !h->done;
    int rc = ENSIGN_OK;

    if (how % 4 == 0) {
        rc = ensign_cancel(r->a.c, r->call.id);
        r->cancelled |= under_way;
    } else if (how % 4 == 1) {
        rc = ensign_close(r->a.c, r->call.id, 1u << how / 4 % 16);
    } else {
        return rc;
    }
    WANT(rc == (alive ? ENSIGN_OK : ENSIGN_E_HANDLE));
    return rc;
}

static void play_program(run_t *r, uint8_t what)
{
    static const uint8_t zeros[2000];
    ensign_slice_t message = { zeros, 0 };
    int rc = ENSIGN_OK;

    switch (what) {
    case 0:
        for (uint8_t n = input_byte(&r->a) % 8; n > 0 && pull(r); n--) {
        }
        break;
    case 1:
        message.len = input_16(&r->a) % sizeof zeros;
        rc = ensign_call_send(r->a.c, r->call, message, 0);
        WANT(rc != ENSIGN_E_MEMORY && rc != ENSIGN_E_ARGUMENT);
        break;
    case 2:
        rc = ensign_call_half_close(r->a.c, r->call);
        break;
    case 3:
        r->held = !r->held;
        rc = ensign_hold(r->a.c, r->call.id, r->held);
        break;
    case 4:
        rc = play_ending(r, input_byte(&r->a));
        break;
    default:
        if (input_byte(&r->a) % 16 == 0) {
            WANT(ensign_forget(r->a.c, r->call.id) == ENSIGN_OK);
            r->forgotten = true;
        }
        break;
    }
    if (r->ended || r->forgotten) WANT(what == 0 || what >= 3 || rc == ENSIGN_E_HANDLE);
}

/* ------------------------------------------------------------------ the whole */
static void open_call(run_t *r, uint8_t options)
{
    ensign_call_desc_t d;

    memset(&d, 0, sizeof d);
    d.method = "/fuzz.Service/Method";
    d.unary = r->unary = (options & 1) != 0;
    d.request = ensign_str(options & 2 ? "request" : "");
    d.window_bytes = WINDOW;
    d.send_buffer_bytes = 1024;
    d.max_send_bytes = 2048;
    d.max_message_bytes = MESSAGE_MAX;
    d.max_metadata_bytes = options & 4 ? 300 : 0;
    d.accept_encoding = options & 8 ? "identity,gzip" : NULL;
    d.wait_for_ready = (options & 16) != 0;
    d.deadline_ms = options & 32 ? 5000 : 0;
    if (options & 128) {
        d.retry.max_attempts = ATTEMPTS;
        d.retry.backoff_min_ms = 10;
        d.retry.statuses = 0x1FFFE;
    }
    r->attempts = d.retry.max_attempts ? ATTEMPTS : 1;
    r->a.bound += ensign_call_memory_bound(&d);
    r->a.window = MESSAGE_MAX + 5;
    r->call = ensign_call_open(r->a.c, &d);
    WANT(r->call.id != 0);
}

static void play(run_t *r)
{
    uint8_t op = input_byte(&r->a);
    stream_t *s = newest(r);

    if (op < 0x80) {
        if (s) play_answer(r, s, op % 10);
    } else if (op < 0xB0) {
        play_program(r, op % 6);
    } else if (op < 0xC0) {
        play_connection(r, op % 4);
    } else if (op < 0xD0) {
        (void)actor_sleep(&r->a, 1u << op % 16);
    } else {
        for (uint32_t turns = 1u << op % 8; turns > 0 && actor_turn(&r->a); turns--) {
        }
    }
}

/* Everything that is under way arrives, and is pulled. */
static void drain(run_t *r)
{
    if (r->held) WANT(ensign_hold(r->a.c, r->call.id, false) != ENSIGN_E_ARGUMENT);
    for (int rounds = 0;; rounds++) {
        bool any = false;
        WANT(rounds < DRAIN_MAX);
        actor_settle(&r->a);
        while (pull(r)) any = true;
        if (!any) return;
    }
}

/* Neither a message nor an end may be stuck on a connection that runs, whatever the server sends. */
static void check_no_stall(run_t *r)
{
    stream_t *s = source_of(r);
    ensign_link_t l;

    if (!s || r->ended || r->forgotten) return;
    if (ensi_handle_find(&r->a.c->handles, r->call.id)->call->state == ENSI_GRPC_BACKOFF) return;
    ensign_link(r->a.c, s->conn->link, &l);
    if (l.todo != ENSIGN_LINK_RUN || l.attempt != s->conn->attempt) return;
    /* refused, it is asked again, and waits while the server allows no stream */
    if (r->a.c->calls.head && !ensi_h2_can_open(&r->a.c->conn->h2)) return;
    WANT(!s->closed && s->out_at == s->out.len);
}

static void finish(run_t *r, uint32_t timeout_ms)
{
    bool closed = false;

    drain(r);
    check_no_stall(r);
    WANT(ensign_close(r->a.c, ENSIGN_CLIENT, timeout_ms) == ENSIGN_OK);
    for (int i = 0; i < DRAIN_MAX && !closed; i++) {
        const ensign_notice_t *n;
        actor_settle(&r->a);
        while ((n = ensign_next(r->a.c)) != NULL) {
            take(r, n);
            closed |= n->handle == ENSIGN_CLIENT && n->type == ENSIGN_NOTICE_CLOSED;
        }
        (void)actor_sleep(&r->a, 1000);
    }
    WANT(closed && (r->ended || r->forgotten));
    WANT(ensign_next_of(r->a.c, r->call.id) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t options, cut;

    if (size < 3 || size > 4096) return 0;
    memset((uint8_t *)&run + sizeof run.a, 0, sizeof run - sizeof run.a);
    actor_begin(&run.a, data, size);
    options = input_byte(&run.a);
    cut = input_byte(&run.a);
    open_call(&run, options);
    actor_settle(&run.a);
    run.a.cut = cut;
    while (input_left(&run.a)) play(&run);
    finish(&run, options & 64 ? 1000 : 0);
    actor_end(&run.a);
    return 0;
}
