/* grpc.c - sections grpc and call: tables, metadata, the send buffer, the queue, and how a call ends */
#include "wire.h"

/* ---- a call without a client */

static ensi_env_t env;
static ensi_calls_t calls;

static void open_call(ensi_call_t *call, size_t out_min, size_t max_meta)
{
    ensi_grpc_opts_t o;
    memset(&env, 0, sizeof env);
    memset(&calls, 0, sizeof calls);
    env.mem.alloc = ensi_mem_default;
    memset(&o, 0, sizeof o);
    memset(call, 0, sizeof *call);
    o.method = "/test.Service/Method";
    o.accept_encoding = "zstd, gzip,";
    o.window = 1024;
    o.max_message = 4096;
    o.max_send = 4096;
    o.max_meta = max_meta;
    o.shows_metadata = true;
    o.out_min = out_min;
    o.deadline_ms = ENSIGN_FOREVER;
    assert_int_equal(ensi_grpc_init(call, &env, &calls, NULL, &o), ENSIGN_OK);
    call->http_status = call->grpc_status = -1;
    call->pushback_ms = -1;
}

static void close_call(ensi_call_t *call)
{
    ensi_grpc_free(call, &env.mem);
    ensi_mem_close(&env.mem);
    assert_int_equal(env.mem.used, 0);
}

static void header(ensi_call_t *call, const char *name, const char *value)
{
    ensi_grpc_on_header(&call->s, ensign_str(name), ensign_str(value));
}

/* Key and value of each entry in `which`, as "key=value;". */
static const char *listed(const ensi_call_t *call, int which)
{
    static char text[600];
    size_t at = 0, n = 0;
    ensign_slice_t key, value;
    text[0] = '\0';
    while (ensi_meta_next(&call->meta[which - 1], true, &at, &key, &value))
        n += (size_t)snprintf(text + n, sizeof text - n, "%.*s=%.*s;", (int)key.len, (const char *)key.ptr,
                              (int)value.len, (const char *)value.ptr);
    return text;
}

/* ---- tables */

static void moves_every_pair(void **state)
{
    static const int to[ENSI_GRPC_STATES][ENSI_GRPC_INPUTS] = {
        /* QUEUE, SUBMIT, RETRY, END, PAUSE */
        { ENSI_GRPC_QUEUED, -1, -1, -1, -1 },
        { -1, ENSI_GRPC_OPEN, -1, ENSI_GRPC_ENDED, -1 },
        { -1, -1, ENSI_GRPC_QUEUED, ENSI_GRPC_ENDED, -1 },
        { ENSI_GRPC_QUEUED, -1, -1, -1, ENSI_GRPC_BACKOFF },
        { ENSI_GRPC_QUEUED, -1, -1, ENSI_GRPC_ENDED, -1 },
    };
    (void)state;
    CHECK_MOVES(ensi_call_t, ensi_grpc_state_t, ensi_grpc_in_t, ensi_grpc_move, to);
}

static void status_has_the_specification_s_name(void **state)
{
    static const char *const names[] = {
        "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
        "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
        "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"
    };
    (void)state;
    for (int i = 0; i < (int)COUNT(names); i++) {
        char name[40];
        assert_string_equal(ensi_grpc_status_name(i), names[i]);
        snprintf(name, sizeof name, "ENSIGN_E_%s", names[i]);
        if (i > 0) assert_string_equal(ensign_result_name(ENSIGN_E_GRPC - i), name);
    }
    assert_string_equal(ensi_grpc_status_name(-1), "UNKNOWN");
    assert_string_equal(ensi_grpc_status_name(17), "UNKNOWN");
}

static void http_status_maps_as_specified(void **state)
{
    (void)state;
    for (int http = 0; http < 1000; http++) {
        int want = http == 400   ? ENSIGN_GRPC_INTERNAL
                   : http == 401 ? ENSIGN_GRPC_UNAUTHENTICATED
                   : http == 403 ? ENSIGN_GRPC_PERMISSION_DENIED
                   : http == 404 ? ENSIGN_GRPC_UNIMPLEMENTED
                   : http == 429 || (http >= 502 && http <= 504) ? ENSIGN_GRPC_UNAVAILABLE
                                                                 : ENSIGN_GRPC_UNKNOWN;
        assert_int_equal(ensi_grpc_of_http(http), want);
    }
}

static void reset_code_maps_as_specified(void **state)
{
    static const int want[] = {
        ENSIGN_GRPC_INTERNAL,               /* NO_ERROR */
        ENSIGN_GRPC_INTERNAL,               /* PROTOCOL_ERROR */
        ENSIGN_GRPC_INTERNAL,               /* INTERNAL_ERROR */
        ENSIGN_GRPC_INTERNAL,               /* FLOW_CONTROL_ERROR */
        ENSIGN_GRPC_INTERNAL,               /* SETTINGS_TIMEOUT */
        ENSIGN_GRPC_UNKNOWN,                /* STREAM_CLOSED: no mapping */
        ENSIGN_GRPC_INTERNAL,               /* FRAME_SIZE_ERROR */
        ENSIGN_GRPC_UNAVAILABLE,            /* REFUSED_STREAM */
        ENSIGN_GRPC_CANCELLED,              /* CANCEL */
        ENSIGN_GRPC_INTERNAL,               /* COMPRESSION_ERROR */
        ENSIGN_GRPC_INTERNAL,               /* CONNECT_ERROR */
        ENSIGN_GRPC_RESOURCE_EXHAUSTED,     /* ENHANCE_YOUR_CALM */
        ENSIGN_GRPC_PERMISSION_DENIED,      /* INADEQUATE_SECURITY */
        ENSIGN_GRPC_UNKNOWN,                /* HTTP_1_1_REQUIRED: no mapping */
        ENSIGN_GRPC_INTERNAL                /* and what is not defined */
    };
    (void)state;
    for (uint32_t i = 0; i < COUNT(want); i++) assert_int_equal(ensi_grpc_of_reset(i), want[i]);
    assert_int_equal(ensi_grpc_of_reset(UINT32_MAX), ENSIGN_GRPC_INTERNAL);
}

static void timeout_has_at_most_eight_digits(void **state)
{
    static const struct { uint32_t ms; const char *text; } rows[] = {
        { 1, "1m" }, { 999, "999m" }, { 99999999, "99999999m" }, { 100000000, "100000S" },
        { 100000999, "100000S" }, { UINT32_MAX - 1, "4294967S" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[24];
        ensi_grpc_timeout(text, sizeof text, rows[i].ms);
        assert_string_equal(text, rows[i].text);
    }
}

static void numbers_are_whole(void **state)
{
    static const struct { const char *text; bool good; int64_t value; } rows[] = {
        { "0", true, 0 }, { "16", true, 16 }, { "007", true, 7 }, { "-1", true, -1 },
        { "999999999999999999", true, 999999999999999999 }, { "1000000000000000000", false, 0 },
        { "", false, 0 }, { "-", false, 0 }, { "+1", false, 0 }, { " 1", false, 0 }, { "1 ", false, 0 },
        { "0x1", false, 0 }, { "1.5", false, 0 }, { "--1", false, 0 },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t value = 77;
        assert_int_equal(ensi_grpc_number(ensign_str(rows[i].text), &value), rows[i].good);
        assert_true(value == (rows[i].good ? rows[i].value : 77));
    }
}

/* In memory of just its size, so that a read past its end is seen. */
static void percent_codes_are_decoded_and_bad_ones_kept(void **state)
{
    static const struct { const char *from, *to; } rows[] = {
        { "", "" }, { "plain text", "plain text" }, { "a%20b", "a b" }, { "%41%42", "AB" },
        { "%e2%82%AC", "\xe2\x82\xac" }, { "%", "%" }, { "%4", "%4" }, { "100%", "100%" }, { "%zz", "%zz" },
        { "%4z", "%4z" }, { "%z4", "%z4" },
        { "%%41", "%A" }, { "%2525", "%25" }, { "%0a", "\n" }, { "a%", "a%" }, { "%4%41", "%4A" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        size_t n = strlen(rows[i].from);
        uint8_t *p = (uint8_t *)malloc(n ? n : 1);
        assert_non_null(p);
        memcpy(p, rows[i].from, n);
        n = ensi_grpc_unescape(p, n);
        assert_int_equal(n, strlen(rows[i].to));
        assert_memory_equal(p, rows[i].to, n);
        free(p);
    }
}

static void content_type_has_variants(void **state)
{
    static const struct { const char *type; bool good; } rows[] = {
        { "application/grpc", true }, { "application/grpc+proto", true }, { "application/grpc+json", true },
        { "application/grpc;charset=utf-8", true }, { "application/grpc-web", false },
        { "application/grpcd", false }, { "application/grp", false }, { "text/html", false }, { "", false },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensi_call_t k;
        open_call(&k, 1000, 1000);
        header(&k, ":status", "200");
        assert_true(k.s.deaf); /* nothing says gRPC yet */
        header(&k, "content-type", rows[i].type);
        assert_int_equal(k.grpc_content, rows[i].good);
        assert_int_equal(k.s.deaf, !rows[i].good);
        close_call(&k);
    }
}

/* ---- metadata */

static void headers_and_trailers_are_kept_apart(void **state)
{
    ensi_call_t k;
    (void)state;
    open_call(&k, 1000, 4000);
    header(&k, ":status", "200");
    header(&k, "content-type", "application/grpc");
    header(&k, "x-a", "1");
    header(&k, "x-a", "2");
    header(&k, "x-empty", "");
    header(&k, "grpc-encoding", "gzip");
    k.s.headers_done = k.s.trailers = true;
    header(&k, "x-t", "end");
    header(&k, "grpc-status", "5");
    header(&k, "grpc-message", "no%20such%2c thing%");
    header(&k, "grpc-status-details-bin", "AQID,BAUG");
    header(&k, "grpc-retry-pushback-ms", "1500");
    header(&k, "content-type", "text/plain"); /* too late to matter */
    assert_string_equal(listed(&k, ENSIGN_HEADERS),
                        "content-type=application/grpc;x-a=1;x-a=2;x-empty=;grpc-encoding=gzip;");
    assert_string_equal(listed(&k, ENSIGN_TRAILERS), "x-t=end;content-type=text/plain;");
    assert_int_equal(k.http_status, 200);
    assert_int_equal(k.grpc_status, 5);
    assert_true(k.encoded);
    assert_false(k.s.deaf);
    assert_true(ensi_slice_is(k.text, "no such, thing%"));
    assert_int_equal(k.details.len, 3);
    assert_memory_equal(k.details.ptr, "\1\2\3", 3);
    assert_true(k.pushback_ms == 1500);
    close_call(&k);
}

/* A message may come compressed by what was accepted, and by nothing else. */
static void an_encoding_counts_if_it_was_accepted(void **state)
{
    static const struct { const char *value; bool counts; } rows[] = {
        { "gzip", true }, { "zstd", true }, { "identity", false }, { "gzi", false }, { "gzipp", false },
        { "deflate", false }, { "", false }, { "zstd, gzip", false },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensi_call_t k;
        open_call(&k, 1000, 1000);
        header(&k, "grpc-encoding", rows[i].value);
        if (k.encoded != rows[i].counts) fail_msg("grpc-encoding '%s'", rows[i].value);
        close_call(&k);
    }
}

static void binary_values_are_decoded(void **state)
{
    static const struct { const char *value, *want; } rows[] = {
        { "Zm9v", "k-bin=foo;" }, { "Zm8", "k-bin=fo;" }, { "Zm8=", "k-bin=fo;" }, { "Zg==", "k-bin=f;" },
        { "Zg,Zm8=, Zm9v", "k-bin=f;k-bin=fo;k-bin=foo;" }, { "", "k-bin=;" }, { "?,Zg", "k-bin=f;" },
        { "Z", "" }, { " Zg\t", "k-bin=f;" }, { ",", "k-bin=;k-bin=;" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensi_call_t k;
        open_call(&k, 1000, 1000);
        header(&k, "k-bin", rows[i].value);
        assert_string_equal(listed(&k, ENSIGN_HEADERS), rows[i].want);
        close_call(&k);
    }
}

static void metadata_is_counted_as_a_header_list(void **state)
{
    ensi_call_t k;
    (void)state;
    open_call(&k, 1000, 2 * (32 + 3 + 5));
    header(&k, "x-a", "12345");
    header(&k, "x-b", "12345");
    assert_false(ensi_grpc_is_cut(&k));
    k.s.headers_done = k.s.trailers = true; /* they have as much room, of their own */
    header(&k, "x-c", "12345");
    header(&k, "x-d", "12345");
    assert_false(ensi_grpc_is_cut(&k));
    assert_string_equal(listed(&k, ENSIGN_HEADERS), "x-a=12345;x-b=12345;");
    assert_string_equal(listed(&k, ENSIGN_TRAILERS), "x-c=12345;x-d=12345;");
    header(&k, "x", "");
    assert_true(ensi_grpc_is_cut(&k));
    assert_string_equal(listed(&k, ENSIGN_TRAILERS), "x-c=12345;x-d=12345;");
    ensi_meta_clear(&k.meta[1]);
    assert_false(ensi_grpc_is_cut(&k));
    header(&k, "x", "again");
    assert_string_equal(listed(&k, ENSIGN_TRAILERS), "x=again;");
    close_call(&k);
}

/* A list in one field makes many entries: the store fills before the count does. The text has room of its
 * own, and the status needs none. */
static void a_full_store_takes_a_text_still(void **state)
{
    char list[60], text[ENSI_META_TEXT + 100];
    ensi_call_t k;
    (void)state;
    open_call(&k, 1000, 300);
    k.s.headers_done = k.s.trailers = true;
    memset(list, ',', sizeof list);
    list[sizeof list - 1] = '\0';
    header(&k, "abc-bin", list);
    assert_true(ensi_grpc_is_cut(&k));
    memset(text, 't', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    header(&k, "grpc-message", text);
    assert_in_range(k.text.len, ENSI_META_TEXT - 40, ENSI_META_TEXT + 20);
    assert_memory_equal(k.text.ptr, text, k.text.len);
    header(&k, "grpc-message", "and no second one");
    assert_true(k.text.len > 1 && k.text.ptr[0] == 't');
    header(&k, "grpc-status-details-bin", "AQID");
    assert_int_equal(k.details.len, 0);
    header(&k, "grpc-status", "7");
    assert_int_equal(k.grpc_status, 7);
    close_call(&k);
}

/* The cut falls behind, before and into each byte of an escape, and takes the whole of it. */
static void a_text_is_cut_between_its_escapes(void **state)
{
    enum { ROOM = ENSI_META_TEXT + 100 - ENSI_META_RECORD - 13 };
    (void)state;
    for (size_t at = ROOM - 4; at <= ROOM; at++) {
        char text[ROOM + 8];
        ensi_call_t k;
        open_call(&k, 1000, 100);
        memset(text, 't', sizeof text - 1);
        text[sizeof text - 1] = '\0';
        memcpy(text + at, "%41", 3);
        header(&k, "grpc-message", text);
        assert_true(ensi_grpc_is_cut(&k));
        assert_int_equal(k.text.len, at + 3 <= ROOM ? ROOM - 2 : at);
        if (at + 3 <= ROOM) assert_int_equal(k.text.ptr[at], 'A');
        close_call(&k);
    }
}

/* The status needs none; nor does a call whose metadata nobody sees, until there is a text. */
static void no_memory_for_metadata_is_noted(void **state)
{
    ensi_call_t k;
    (void)state;
    for (int shows = 0; shows < 2; shows++) {
        open_call(&k, 1000, 1000);
        k.shows_metadata = shows;
        env.mem.limit = env.mem.used;
        k.s.headers_done = k.s.trailers = true;
        header(&k, "grpc-status", "5");
        assert_false(k.s.no_memory);
        header(&k, "x-a", "v");
        assert_int_equal(k.s.no_memory, shows);
        header(&k, "grpc-message", "words");
        assert_true(k.s.no_memory);
        assert_int_equal(k.grpc_status, 5);
        close_call(&k);
    }
}

/* ---- the send buffer */

static int put(ensi_call_t *call, char c, size_t len)
{
    uint8_t *out;
    int rc = ensi_grpc_reserve(call, len, &out);
    if (rc != ENSIGN_OK) return rc;
    memset(out, c, len);
    ensi_grpc_commit(call, len, 0);
    return rc;
}

/* Takes up to cap bytes, as nghttp2 does. */
static size_t take(ensi_call_t *call, uint8_t *out, size_t cap)
{
    bool eof;
    return ensi_grpc_on_read(&call->s, out, cap, &eof);
}

static void messages_have_a_prefix_and_keep_their_order(void **state)
{
    static const uint8_t want[] = { 0, 0, 0, 0, 2, 'a', 'a', 1, 0, 0, 0, 1, 'b', 0, 0, 0, 0, 0 };
    uint8_t out[100], *room;
    size_t n = 0;
    bool eof = false;
    ensi_call_t k;
    (void)state;
    open_call(&k, 100, 1000);
    assert_int_equal(put(&k, 'a', 2), ENSIGN_OK);
    assert_int_equal(ensi_grpc_reserve(&k, 50, &room), ENSIGN_OK); /* more than it becomes */
    room[0] = 'b';
    assert_int_equal(k.reserved, 51);
    ensi_grpc_commit(&k, 1, ENSIGN_COMPRESSED);
    assert_int_equal(k.reserved, 0);
    assert_int_equal(put(&k, 0, 0), ENSIGN_OK);
    while (n < sizeof want) {
        size_t got = ensi_grpc_on_read(&k.s, out + n, 3, &eof);
        assert_in_range(got, 1, 3);
        assert_false(eof);
        n += got;
    }
    assert_int_equal(n, sizeof want);
    assert_memory_equal(out, want, n);
    assert_int_equal(take(&k, out, sizeof out), 0);
    k.half_closed = true;
    ensi_grpc_on_read(&k.s, out, sizeof out, &eof);
    assert_true(eof);
    close_call(&k);
}

static void a_full_buffer_says_again_and_changes_nothing(void **state)
{
    uint8_t out[1000];
    ensi_call_t k;
    size_t end;
    (void)state;
    open_call(&k, 100, 1000);
    assert_int_equal(put(&k, 'a', 45), ENSIGN_OK);
    assert_int_equal(put(&k, 'b', 45), ENSIGN_OK);
    assert_int_equal(k.out.cap, 100);
    end = k.out.end;
    assert_int_equal(put(&k, 'c', 0), ENSIGN_AGAIN);
    assert_int_equal(put(&k, 'c', 500), ENSIGN_AGAIN);
    assert_int_equal(k.out.end, end);
    assert_true(k.kept);
    k.room_wanted = 30 + 5;
    assert_false(ensi_grpc_has_room(&k));
    assert_int_equal(take(&k, out, 34), 34);
    assert_false(ensi_grpc_has_room(&k));
    assert_int_equal(take(&k, out, 1), 1);
    assert_true(ensi_grpc_has_room(&k)); /* and it is so: */
    assert_int_equal(put(&k, 'c', 30), ENSIGN_OK);
    assert_false(k.kept); /* what was sent has made room */
    assert_int_equal(take(&k, out, sizeof out), 100);
    assert_int_equal(out[0], 'a');
    assert_int_equal(out[99], 'c');
    close_call(&k);
}

static void one_larger_message_is_taken_when_it_is_empty(void **state)
{
    uint8_t out[1000];
    ensi_call_t k;
    (void)state;
    open_call(&k, 100, 1000);
    assert_int_equal(put(&k, 'a', 500), ENSIGN_OK);
    assert_int_equal(k.out.cap, 505);
    assert_true(k.kept);
    assert_int_equal(put(&k, 'b', 1), ENSIGN_AGAIN);
    assert_int_equal(take(&k, out, 400), 400);
    assert_int_equal(put(&k, 'b', 1), ENSIGN_OK);
    assert_int_equal(k.out.cap, 505);
    assert_int_equal(take(&k, out, sizeof out), 111);
    assert_int_equal(put(&k, 'c', 1), ENSIGN_OK); /* back to the usual size */
    assert_int_equal(k.out.cap, 100);
    assert_int_equal(take(&k, out, sizeof out), 6);
    close_call(&k);
}

static void no_memory_leaves_the_buffer_alone(void **state)
{
    uint8_t out[1000];
    ensi_call_t k;
    (void)state;
    open_call(&k, 100, 1000);
    assert_int_equal(put(&k, 'a', 5), ENSIGN_OK);
    assert_int_equal(take(&k, out, sizeof out), 10);
    env.mem.limit = env.mem.used;
    assert_int_equal(put(&k, 'b', 500), ENSIGN_E_MEMORY);
    assert_int_equal(k.out.cap, 100);
    assert_int_equal(k.out.end, 10);
    assert_true(k.kept);
    assert_int_equal(put(&k, 'c', 5), ENSIGN_OK);
    assert_int_equal(take(&k, out, sizeof out), 10);
    assert_int_equal(out[5], 'c');
    close_call(&k);
}

/* A call may be sent again while [0, sent) is what was sent first, and once. */
static void what_was_sent_is_kept_for_one_retry(void **state)
{
    uint8_t first[100], second[100];
    ensi_call_t k;
    (void)state;
    open_call(&k, 100, 1000);
    assert_int_equal(put(&k, 'a', 20), ENSIGN_OK);
    ensi_grpc_queue(&k);
    assert_ptr_equal(calls.head, &k);
    ensi_grpc_dequeue(&k);
    assert_true(ensi_grpc_move(&k, ENSI_GRPC_ON_SUBMIT));
    assert_int_equal(take(&k, first, 10), 10);
    assert_int_equal(put(&k, 'b', 20), ENSIGN_OK); /* behind it: it stays */
    assert_int_equal(take(&k, first, sizeof first), 40);
    assert_true(ensi_grpc_retry(&k));
    assert_int_equal(k.state, ENSI_GRPC_QUEUED);
    assert_ptr_equal(calls.head, &k);
    assert_int_equal(take(&k, second, sizeof second), 50);
    assert_int_equal(second[5], 'a');
    assert_int_equal(second[49], 'b');
    ensi_grpc_dequeue(&k);
    assert_true(ensi_grpc_move(&k, ENSI_GRPC_ON_SUBMIT));
    assert_false(ensi_grpc_retry(&k)); /* once */
    assert_int_equal(k.state, ENSI_GRPC_OPEN);
    k.retried = false;
    k.s.headers_done = true;
    assert_false(ensi_grpc_retry(&k)); /* the server has answered */
    k.s.headers_done = false;
    assert_int_equal(put(&k, 'c', 90), ENSIGN_OK);
    assert_false(k.kept);
    assert_false(ensi_grpc_retry(&k));
    close_call(&k);
}

/* ---- the queue */

static void the_queue_is_in_the_order_of_asking(void **state)
{
    ensi_call_t k[4], *at;
    unsigned order[24], n = 0;
    (void)state;
    /* every order in which four calls can come back */
    for (unsigned a = 0; a < 4; a++)
        for (unsigned b = 0; b < 4; b++)
            for (unsigned c = 0; c < 4; c++)
                if (a != b && b != c && a != c) order[n++] = a | b << 2 | c << 4 | (6 - a - b - c) << 6;
    assert_int_equal(n, 24);
    for (unsigned i = 0; i < n; i++) {
        memset(k, 0, sizeof k);
        memset(&calls, 0, sizeof calls);
        for (unsigned j = 0; j < 4; j++) {
            k[j].order = j + 1;
            k[j].all = &calls;
        }
        for (unsigned j = 0; j < 4; j++) ensi_grpc_enqueue(&k[order[i] >> 2 * j & 3]);
        at = calls.head;
        for (unsigned j = 0; j < 4; j++, at = at->queue_next) assert_ptr_equal(at, &k[j]);
        assert_null(at);
        assert_ptr_equal(calls.tail, &k[3]);
        for (unsigned j = 0; j < 4; j++) {
            ensi_call_t *out = &k[order[i] >> 2 * j & 3], *last = NULL;
            ensi_grpc_dequeue(out);
            ensi_grpc_dequeue(out); /* what is not in it: no matter */
            for (at = calls.head; at; at = at->queue_next) {
                assert_ptr_not_equal(at, out);
                last = at;
            }
            assert_ptr_equal(calls.tail, last);
        }
        assert_null(calls.head);
    }
}

/* ---- endings */

typedef struct {
    const char *what;
    int http, grpc;
    bool content, sent, ended;
    uint32_t code;
    int status, error;
    bool from_server;
} ending_t;

static void the_server_s_word_is_judged(void **state)
{
    static const ending_t rows[] = {
        { "OK", 200, 0, true, true, true, 0, ENSIGN_GRPC_OK, 0, true },
        { "a status", 200, 5, true, true, true, 0, ENSIGN_GRPC_NOT_FOUND, ENSIGN_E_NOT_FOUND, true },
        { "a status behind an HTTP error", 503, 8, false, true, true, 0, ENSIGN_GRPC_RESOURCE_EXHAUSTED,
          ENSIGN_E_RESOURCE_EXHAUSTED, true },
        { "OK behind an HTTP error", 503, 0, true, true, true, 0, ENSIGN_GRPC_UNAVAILABLE, ENSIGN_E_PROTOCOL,
          false },
        { "OK of what is no gRPC", 200, 0, false, true, true, 0, ENSIGN_GRPC_UNKNOWN, ENSIGN_E_PROTOCOL,
          false },
        { "no status", 200, -1, true, true, true, 0, ENSIGN_GRPC_UNKNOWN, ENSIGN_E_PROTOCOL, false },
        { "HTTP", 404, -1, false, true, true, 0, ENSIGN_GRPC_UNIMPLEMENTED, ENSIGN_E_PROTOCOL, false },
        { "a reset", 200, -1, true, true, false, NGHTTP2_ENHANCE_YOUR_CALM, ENSIGN_GRPC_RESOURCE_EXHAUSTED,
          ENSIGN_E_RESET, false },
        { "a reset before an answer", -1, -1, false, true, false, NGHTTP2_REFUSED_STREAM,
          ENSIGN_GRPC_UNAVAILABLE, ENSIGN_E_RESET, false },
        { "a reset with NO_ERROR", 200, -1, true, true, false, NGHTTP2_NO_ERROR, ENSIGN_GRPC_INTERNAL,
          ENSIGN_E_RESET, false },
        { "OK in headers, then a reset", 200, 0, true, true, false, NGHTTP2_INTERNAL_ERROR,
          ENSIGN_GRPC_INTERNAL, ENSIGN_E_RESET, false },
        { "never sent", -1, -1, false, false, false, NGHTTP2_REFUSED_STREAM, ENSIGN_GRPC_UNAVAILABLE,
          ENSIGN_E_UNAVAILABLE, false },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const ending_t *r = &rows[i];
        ensi_call_t k;
        open_call(&k, 100, 1000);
        k.state = ENSI_GRPC_OPEN;
        k.http_status = r->http;
        k.grpc_status = r->grpc;
        k.grpc_content = r->content;
        k.s.deaf = r->http != 200 || !r->content;
        k.s.headers_sent = r->sent;
        k.s.headers_done = r->http > 0;
        k.s.ended = r->ended;
        k.s.closed = true;
        k.s.close_code = r->code;
        ensi_grpc_judge(&k);
        if (k.end_status != r->status || k.fault.code != r->error || k.from_server != r->from_server)
            fail_msg("%s: status %d, error %d (%s)", r->what, k.end_status, k.fault.code, k.fault.text);
        assert_int_equal(k.state, ENSI_GRPC_ENDED);
        assert_int_equal(k.unprocessed, !r->sent);
        close_call(&k);
    }
}

static void an_empty_text_is_said_to_be_empty(void **state)
{
    ensi_call_t k;
    (void)state;
    open_call(&k, 100, 1000);
    k.state = ENSI_GRPC_OPEN;
    k.s.headers_sent = k.s.ended = true;
    k.grpc_status = 13;
    ensi_grpc_judge(&k);
    assert_string_equal(k.fault.text, "grpc: /test.Service/Method answers INTERNAL: (no text)");
    close_call(&k);
}

/* The server's deadline is ours: which of the two clocks strikes first makes no difference. */
static void cancel_at_the_deadline_is_the_deadline(void **state)
{
    ensi_call_t k;
    (void)state;
    for (int late = 0; late < 2; late++) {
        open_call(&k, 100, 1000);
        env.now_ms = 1000;
        ensi_timer_start(&k.deadline, 50);
        assert_false(ensi_timer_due(&k.deadline, env.now_ms));
        env.now_ms += late ? 50 : 49;
        k.state = ENSI_GRPC_OPEN;
        k.s.headers_sent = true;
        k.s.close_code = NGHTTP2_CANCEL;
        ensi_grpc_judge(&k);
        assert_int_equal(k.end_status, late ? ENSIGN_GRPC_DEADLINE_EXCEEDED : ENSIGN_GRPC_CANCELLED);
        close_call(&k);
    }
}

/* ---- on the wire */

static wire_t w;

static void answer(uint32_t id)
{
    put_headers(&w, 0, id, ":status", "200", "content-type", "application/grpc", NULL);
}

/* What comes before the end, and what ends the call; by what then, and with which error. */
typedef struct {
    const char *what;
    bool unary;
    const char *head[7];
    ensign_slice_t body;        /* DATA */
    const char *trailers[5];    /* [0] NULL: DATA ends it */
    ensign_slice_t last;
    int last_flags, status, error, native;
} told_t;

#define GRPC_HEAD ":status", "200", "content-type", "application/grpc"
#define BODY(text) { (const uint8_t *)(text), sizeof(text) - 1 }

static const told_t told[] = {
    /* an error page may come with no other header than its status */
    { "a body that is no gRPC", false, { ":status", "404" }, BODY("<html>not found</html>"), { NULL },
      BODY(""), END_STREAM, ENSIGN_GRPC_UNIMPLEMENTED, ENSIGN_E_PROTOCOL, 404 },
    /* a field that is wrong resets the stream: the status before it in the block does not count */
    { "trailers that are malformed", false, { GRPC_HEAD }, BODY(""),
      { "grpc-status", "0", "connection", "close" }, BODY(""), 0, ENSIGN_GRPC_INTERNAL, ENSIGN_E_RESET, 1 },
    /* only the block that ends the call tells how it ended */
    { "a status before the messages", false, { GRPC_HEAD, "grpc-status", "0" }, BODY(""), { NULL }, BODY(""),
      END_STREAM, ENSIGN_GRPC_UNKNOWN, ENSIGN_E_PROTOCOL, 0 },
    { "a second answer of a unary call, at once", true, { GRPC_HEAD }, BODY("\0\0\0\0\3one"), { NULL },
      BODY("\0"), 0, ENSIGN_GRPC_INTERNAL, ENSIGN_E_INTERNAL, 0 },
    { "a unary call without an answer", true, { GRPC_HEAD }, BODY(""), { "grpc-status", "0" }, BODY(""), 0,
      ENSIGN_GRPC_INTERNAL, ENSIGN_E_INTERNAL, 0 },
};

/* The call has ended so, in its one last notice, and the error is not the server's word. */
static void check_told(const told_t *r, const ensign_notice_t *n)
{
    int type = r->unary ? ENSIGN_NOTICE_REPLY : ENSIGN_NOTICE_END, status;
    bool from_server;
    if (!n || (int)n->type != type || !n->last || !n->error)
        fail_msg("%s: %s", r->what, n ? "another notice" : "no notice");
    status = r->unary ? n->as.reply.status : n->as.end.status;
    from_server = r->unary ? n->as.reply.from_server : n->as.end.from_server;
    if (status != r->status || from_server || n->error->code != r->error || n->error->native != r->native)
        fail_msg("%s: status %d, error %d, native %d (%s)", r->what, status, n->error->code,
                 n->error->native, n->error->text);
    if (r->unary && n->as.reply.message.len != 0) fail_msg("%s: has a message", r->what);
}

/* Whether the frames come in one read or in two. */
static void the_frames_tell_how_a_call_ended(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * COUNT(told); i++) {
        const told_t *r = &told[i / 2];
        ensign_call_desc_t cd = method();
        ensign_call_t k;
        start_connected();
        cd.unary = r->unary;
        k = call(&cd);
        put_header_list(&w, 0, 1, r->head);
        if (r->body.len) put_frame(&w, DATA, 0, 1, r->body.ptr, r->body.len);
        if (i % 2) {
            feed_frames(&w);
            if (r->unary ? ensign_next_of(client, k.id) : next(k)) fail_msg("%s: ends early", r->what);
        }
        if (r->trailers[0]) put_header_list(&w, END_STREAM, 1, r->trailers);
        else put_frame(&w, DATA, r->last_flags, 1, r->last.ptr, r->last.len);
        feed_frames(&w);
        check_told(r, r->unary ? ensign_next_of(client, k.id) : next(k));
        stop();
    }
}

/* Bytes come without the work that follows: what TLS gives in one read, or what the link has no room for. */
static void receive_frames(void)
{
    assert_int_equal(ensi_h2_receive(&client->conn->h2, w.b, w.n), ENSIGN_OK);
    w.n = 0;
}

static ensi_call_t *inside(ensign_call_t k)
{
    ensi_handle_t *h = ensi_handle_find(&client->handles, k.id);
    assert_non_null(h);
    return h->call;
}

/* ---- header blocks as nghttp2 takes them, and those that it does not */

/* The block of a header that is `len` bytes long on the wire; as a Huffman code of 5 bits a letter
 * (RFC 7541, 5.2) eight letters are five bytes. */
static size_t put_long_header(uint8_t *out, const char *name, size_t len, bool huffman)
{
    static const uint8_t eight[] = { 0x18, 0xC6, 0x31, 0x8C, 0x63 };
    size_t n = 2 + strlen(name), left = len - 127;
    out[0] = 0; /* a literal without indexing */
    out[1] = (uint8_t)strlen(name);
    memcpy(out + 2, name, strlen(name));
    out[n++] = huffman ? 0xFF : 0x7F;
    for (; left >= 128; left >>= 7) out[n++] = (uint8_t)(0x80 | (left & 0x7F));
    out[n++] = (uint8_t)left;
    for (size_t i = 0; i < len; i++) out[n++] = huffman ? eight[i % sizeof eight] : 'a';
    return n;
}

/* One block in HEADERS and as many CONTINUATION frames as it takes, of up to `frame` bytes; it comes in pieces of
 * up to `piece` bytes. */
static void feed_block(uint32_t id, int flags, const uint8_t *block, size_t n, size_t frame, size_t piece)
{
    enum { CONTINUATION = 9 };
    ensign_link_t l;
    for (size_t at = 0; at < n; at += frame) {
        size_t part = n - at < frame ? n - at : frame;
        put_frame(&w, at == 0 ? HEADERS : CONTINUATION,
                  (at == 0 ? flags : 0) | (at + part == n ? END_HEADERS : 0), id, block + at, part);
        for (size_t i = 0; i < w.n; i += piece < w.n ? piece : w.n) {
            ensign_link(client, ENSIGN_LINK_RPC, &l);
            if (l.todo != ENSIGN_LINK_RUN) break; /* it was enough */
            feed(ENSIGN_LINK_RPC, w.b + i, w.n - i < piece ? w.n - i : piece);
        }
        w.n = 0;
    }
}

/* Two calls that the server has begun to answer, as streams 1 and 3. */
static void two_calls(ensign_call_t *first, ensign_call_t *second)
{
    ensign_call_desc_t cd = method();
    start_connected();
    *first = call(&cd);
    *second = call(&cd);
    answer(1);
    answer(3);
}

static void no_block_that_nghttp2_takes_costs_another_call(void **state)
{
    static const struct { size_t len, text; bool huffman, last; } rows[] = {
        { 9000, 9000, false, false }, { 65535, 65535, false, false },
        { 65536, 65536, false, false },     /* nghttp2's own limit, NGHTTP2_HD_MAX_NV */
        { 65535, 104856, true, false },
        { 65537, 0, false, true }, { 65540, 0, true, true },
    };
    static uint8_t block[70000];
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const ensign_notice_t *n;
        ensign_call_t other, k;
        size_t len;
        two_calls(&other, &k);
        put_message(&w, 0, 3, "one");
        feed_frames(&w);
        memcpy(block, "\0\013grpc-status\0015", 15);
        len = 15 + put_long_header(block + 15, "grpc-message", rows[i].len, rows[i].huffman);
        feed_block(3, END_STREAM, block, len, 16384, SIZE_MAX);
        assert_int_equal(next(k)->type, ENSIGN_NOTICE_MESSAGE);
        if (rows[i].last) {
            drain(ENSIGN_LINK_RPC, NULL, 0);
            hang_up(ENSIGN_LINK_RPC, 0);
            n = end_of(k, ENSIGN_GRPC_UNAVAILABLE);
            assert_non_null(strstr(n->error->text, "over 65536 bytes, which nghttp2 does not take"));
            n = end_of(other, ENSIGN_GRPC_UNAVAILABLE);
            assert_non_null(strstr(n->error->text, "over 65536 bytes, which nghttp2 does not take"));
        } else {
            n = end_of(k, ENSIGN_GRPC_NOT_FOUND);
            assert_true(n->as.end.from_server);
            assert_true(n->as.end.metadata_cut);
            assert_in_range(n->as.end.text.len, 8192, 8192 + ENSI_META_TEXT);
            assert_non_null(strstr(n->error->text, "(metadata cut at max_metadata_bytes, 8192): aa"));
            put_message(&w, 0, 1, "still here");
            put_headers(&w, END_STREAM, 1, "grpc-status", "0", NULL);
            feed_frames(&w);
            assert_int_equal(next(other)->type, ENSIGN_NOTICE_MESSAGE);
            assert_false(end_of(other, ENSIGN_GRPC_OK)->as.end.metadata_cut);
        }
        stop();
    }
}

/* A block of so many frames comes in such pieces. */
static void a_block_of(size_t frames, size_t piece)
{
    static uint8_t block[1000];
    const ensign_notice_t *n;
    ensign_call_t other, k;
    size_t len;
    two_calls(&other, &k);
    memcpy(block, "\0\013grpc-status\0015", 15);
    len = 15 + put_long_header(block + 15, "grpc-message", 140, false);
    feed_block(3, END_STREAM, block, len, (len + frames - 1) / frames, piece);
    if (frames <= 9) {
        n = end_of(k, ENSIGN_GRPC_NOT_FOUND);
        assert_false(n->as.end.metadata_cut);
        put_headers(&w, END_STREAM, 1, "grpc-status", "0", NULL);
        feed_frames(&w);
        end_of(other, ENSIGN_GRPC_OK);
    } else {
        drain(ENSIGN_LINK_RPC, NULL, 0);
        hang_up(ENSIGN_LINK_RPC, 0);
        n = end_of(k, ENSIGN_GRPC_UNAVAILABLE);
        assert_non_null(strstr(n->error->text, "more than 8 CONTINUATION frames"));
        end_of(other, ENSIGN_GRPC_UNAVAILABLE);
    }
    stop();
}

/* nghttp2 counts a frame header again for each piece of it, if it is given the pieces. */
static void a_block_has_eight_continuations(void **state)
{
    static const size_t pieces[] = { SIZE_MAX, 1, 2, 8, 9, 10, 25 };
    (void)state;
    for (size_t frames = 8; frames <= 10; frames++)
        for (size_t i = 0; i < COUNT(pieces); i++) a_block_of(frames, pieces[i]);
}

/* nghttp2 calls the value malformed; the text is shown with a blank in the NUL's place. */
static void a_text_may_have_any_bytes(void **state)
{
    static const uint8_t raw[] = "\0\013grpc-status\0015\0\014grpc-message\007no\0such",
                         coded[] = "\0\013grpc-status\0015\0\014grpc-message\011no%00such",
                         other[] = "\0\013grpc-status\0015\0\003x-a\007no\0such";
    static const struct { const uint8_t *block; size_t n; bool taken; } rows[] = {
        { raw, sizeof raw - 1, true }, { coded, sizeof coded - 1, true }, { other, sizeof other - 1, false },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensign_call_desc_t cd = method();
        const ensign_notice_t *n;
        ensign_call_t k;
        start_connected();
        k = call(&cd);
        answer(1);
        feed_frames(&w);
        feed_block(1, END_STREAM, rows[i].block, rows[i].n, 16384, SIZE_MAX);
        n = end_of(k, rows[i].taken ? ENSIGN_GRPC_NOT_FOUND : ENSIGN_GRPC_INTERNAL);
        if (rows[i].taken) {
            assert_int_equal(n->as.end.text.len, 7);
            assert_memory_equal(n->as.end.text.ptr, "no\0such", 7);
            assert_non_null(strstr(n->error->text, "NOT_FOUND: no such"));
        }
        stop();
    }
}

/* A page in frames of any size becomes one line of plain ASCII, cut. */
static void an_answer_that_is_no_grpc_is_quoted(void **state)
{
    static const char page[] = "\r\n <h1>403\tForbidden</h1>\n\x1b[31mby \xc3\xa4 proxy\0\x7f\n";
    static const char want[] = "403 Forbidden [31mby ?? proxy ";
    static const struct { const char *status, *advice; } rows[] = {
        { "401", "a proxy or gateway" }, { "403", "a proxy or gateway" }, { "404", "without this service" },
        { "502", "cannot reach the server" }, { "302", "is this the right endpoint" },
    };
    (void)state;
    for (size_t frame = 1; frame <= 50; frame += 7) {
        for (size_t i = 0; i < COUNT(rows); i++) {
            ensign_call_desc_t cd = method();
            const ensign_notice_t *n;
            ensign_call_t k;
            char words[200];
            start_connected();
            k = call(&cd);
            put_headers(&w, 0, 1, ":status", rows[i].status, "content-type", "text/html", NULL);
            for (size_t at = 0; at < sizeof page - 1; at += frame)
                put_frame(&w, DATA, 0, 1, page + at, ensi_min(frame, sizeof page - 1 - at));
            for (size_t at = 0; at < 20; at++) put_frame(&w, DATA, 0, 1, "0123456789", 10);
            put_frame(&w, DATA, END_STREAM, 1, NULL, 0);
            feed_frames(&w);
            n = next(k);
            assert_int_equal(n->type, ENSIGN_NOTICE_END);
            assert_int_equal(n->error->native, atoi(rows[i].status));
            snprintf(words, sizeof words, "HTTP status %s: %s0123456789", rows[i].status, want);
            if (!strstr(n->error->text, words) || !strstr(n->error->text, rows[i].advice))
                fail_msg("%s in: %s", words, n->error->text);
            stop();
        }
    }
}

/* Trailers and the end of the connection in one read: the call has ended as the server says. */
static void a_status_counts_though_the_connection_ends_behind_it(void **state)
{
    ensign_call_desc_t cd = method();
    ensign_call_t k;
    const ensign_notice_t *n;
    (void)state;
    start_connected();
    k = call(&cd);
    answer(1);
    put_message(&w, 0, 1, "one");
    put_headers(&w, END_STREAM, 1, "grpc-status", "0", NULL);
    receive_frames();
    ensi_link_fault(&client->links[ENSIGN_LINK_RPC], ENSIGN_E_CLOSED, 0, "closed");
    ensi_client_stop_link(client, &client->links[ENSIGN_LINK_RPC]);
    ensi_client_pump(client);
    n = next(k);
    assert_int_equal(n->type, ENSIGN_NOTICE_MESSAGE);
    n = end_of(k, ENSIGN_GRPC_OK);
    assert_true(n->as.end.from_server);
    assert_null(n->error);
    stop();
}

static void informational_answers_are_passed_over(void **state)
{
    ensign_call_desc_t cd = method();
    ensign_slice_t value;
    ensign_call_t k;
    (void)state;
    start_connected();
    k = call(&cd);
    put_headers(&w, 0, 1, ":status", "103", "x-early", "hint", NULL);
    feed_frames(&w);
    assert_null(ensign_next_of(client, k.id));
    put_headers(&w, END_STREAM, 1, ":status", "200", "content-type", "application/grpc", "x-late", "yes",
                "grpc-status", "9", "grpc-message", "why", "grpc-retry-pushback-ms", "20", NULL);
    feed_frames(&w);
    assert_true(end_of(k, ENSIGN_GRPC_FAILED_PRECONDITION)->as.end.retry_after_ms == 20);
    assert_false(ensign_call_metadata_get(client, k, ENSIGN_TRAILERS, "x-early", &value));
    assert_true(ensign_call_metadata_get(client, k, ENSIGN_TRAILERS, "x-late", &value)); /* trailers only */
    stop();
}

/* Its answer fills the window and memory is out when it is pulled: OK stays OK. */
static void a_unary_call_ends_once(void **state)
{
    char text[1020];
    ensign_call_desc_t cd = method();
    ensign_call_t k;
    const ensign_notice_t *n;
    (void)state;
    start_connected();
    cd.unary = true;
    cd.window_bytes = 1024;
    k = call(&cd);
    memset(text, 'x', sizeof text);
    text[1019] = '\0';
    answer(1);
    put_frame(&w, DATA, 0, 1, "\0\0\0\3\xfb", 5);
    put_frame(&w, DATA, 0, 1, text, 1019);
    put_headers(&w, END_STREAM, 1, "grpc-status", "0", NULL);
    feed_frames(&w);
    client->env.mem.limit = client->env.mem.used; /* no byte more */
    n = reply_of(k, ENSIGN_GRPC_OK);
    assert_int_equal(n->as.reply.message.len, 1019);
    assert_memory_equal(n->as.reply.message.ptr, text, 1019);
    assert_false(n->as.reply.compressed);
    assert_true(n->as.reply.from_server);
    assert_null(n->error);
    pass(1);
    assert_memory_equal(n->as.reply.message.ptr, text, 1019); /* it stands until the next pull */
    assert_null(ensign_next_of(client, k.id));
    stop();
}

/* GOAWAY finds a call whose headers still wait for room: it was never sent, so it is sent again. */
static void a_call_that_was_not_sent_survives_goaway(void **state)
{
    static const uint8_t goaway[8] = { 0 };
    ensign_call_desc_t cd = method();
    ensign_call_t k;
    (void)state;
    start_connected();
    k = ensign_call_open(client, &cd);
    ensi_client_submit(client);
    assert_int_equal(inside(k)->state, ENSI_GRPC_OPEN);
    put_frame(&w, GOAWAY, 0, 0, goaway, sizeof goaway);
    receive_frames();
    ensi_client_pump(client);
    assert_int_equal(next(k)->type, ENSIGN_NOTICE_WAITING); /* the connection was of no use yet: a backoff */
    assert_null(next(k));
    assert_int_equal(inside(k)->state, ENSI_GRPC_QUEUED);
    stop();
}

/* Submitted, but not on its way: it goes without a trace, and so does what it owned. */
static void a_call_may_be_forgotten_before_its_headers_go(void **state)
{
    ensign_call_desc_t cd = method();
    ensign_call_t a, b;
    char out[2000];
    size_t n;
    (void)state;
    start_connected();
    a = ensign_call_open(client, &cd);
    b = ensign_call_open(client, &cd);
    ensi_client_submit(client);
    assert_int_equal(inside(b)->state, ENSI_GRPC_OPEN);
    assert_int_equal(ensign_forget(client, a.id), ENSIGN_OK);
    assert_int_equal(ensign_cancel(client, b.id), ENSIGN_OK);
    assert_true(end_of(b, ENSIGN_GRPC_CANCELLED)->as.end.unprocessed);
    pass(1);
    n = drain(ENSIGN_LINK_RPC, out, sizeof out);
    for (size_t at = 0; at + 9 <= n; at += 9 + (ensi_get_be32((const uint8_t *)out + at) >> 8))
        assert_int_not_equal(out[at + 3], HEADERS);
    b = call(&cd);
    answer(5);
    put_headers(&w, END_STREAM, 5, "grpc-status", "0", NULL);
    feed_frames(&w);
    end_of(b, ENSIGN_GRPC_OK);
    stop();
}

/* The last byte of HEADERS is given away: from here on the server may have seen the call. */
static void headers_count_as_sent_with_their_last_byte(void **state)
{
    ensign_call_desc_t cd = method();
    ensi_call_t *call;
    uint8_t byte;
    size_t n = 0, len;
    (void)state;
    start_connected();
    call = inside(ensign_call_open(client, &cd));
    ensi_client_submit(client);
    assert_false(call->s.headers_sent);
    do {
        assert_int_equal(ensi_h2_send(&client->conn->h2, &byte, 1, &len), ENSIGN_OK);
        assert_int_equal(len, 1);
    } while (++n < 9 || client->conn->h2.out_len > 0);
    assert_true(call->s.headers_sent);
    stop();
}

/* Refused as too much, where it would never leave the queue of nghttp2. */
static void too_much_metadata_is_refused(void **state)
{
    static char big[60000];
    ensign_call_desc_t cd = method();
    ensign_header_t m;
    (void)state;
    start_plain();
    memset(big, 'x', sizeof big);
    cd.metadata = &m;
    cd.metadata_count = 1;
    m.key = "x-big";
    m.value = ensi_slice(big, sizeof big);
    assert_int_equal(ensign_call_open(client, &cd).id, 0);
    assert_int_equal(ensign_error(client)->code, ENSIGN_E_TOO_LARGE);
    m.key = "x-big-bin";
    m.value = ensi_slice(big, 40000);
    assert_int_equal(ensign_call_open(client, &cd).id, 0);
    m.key = "x-big";
    assert_int_equal(ensign_call_open(client, &cd).id, 0); /* the longer form counts */
    m.value = ensi_slice(big, 30000);
    assert_int_not_equal(ensign_call_open(client, &cd).id, 0);
    cd.metadata_count = 129;
    assert_int_equal(ensign_call_open(client, &cd).id, 0);
    assert_int_equal(ensign_error(client)->code, ENSIGN_E_ARGUMENT);
    stop();
}

static void check_refused(const ensign_call_desc_t *d, const char *what, const char *value)
{
    if (ensign_call_open(client, d).id != 0) fail_msg("%s %s was taken", what, value);
    assert_int_equal(ensign_error(client)->code, ENSIGN_E_ARGUMENT);
}

static void bad_descs_are_refused(void **state)
{
    static const struct { const char *key, *value; } pairs[] = {
        { "", "v" }, { "Upper", "v" }, { ":path", "v" }, { "a b", "v" }, { "a\xc3\xa4", "v" }, { "te", "v" },
        { "grpc-status", "v" }, { "grpc-x", "v" }, { "host", "v" }, { "user-agent", "v" },
        { "connection", "v" }, { "content-type", "v" }, { "upgrade", "v" }, { "a\r\nb", "v" },
        { "x-value", "a\nb" }, { "x-value", "a\rb" }, { "x-value", "\x7f" }, { "x-value", "\x01" },
        { "x-value", "\xc3\xa4" }, { "x-value", " v" }, { "x-value", "v " }, { "x-value", " " },
    };
    static const char *const methods[] = { "", "x", "/x", "x/y", "/a b/c", "/a/b\r\n", "/a/\xc3\xa4" };
    ensign_call_desc_t cd = method();
    ensign_header_t m;
    (void)state;
    start_plain();
    cd.metadata = &m;
    cd.metadata_count = 1;
    for (size_t i = 0; i < COUNT(pairs); i++) {
        m.key = pairs[i].key;
        m.value = ensign_str(pairs[i].value);
        check_refused(&cd, pairs[i].key, pairs[i].value);
    }
    cd = method();
    for (size_t i = 0; i < COUNT(methods); i++) {
        cd.method = methods[i];
        check_refused(&cd, "method", methods[i]);
    }
    cd = method();
    cd.window_bytes = 1023;
    check_refused(&cd, "window_bytes", "1023");
    cd = method();
    cd.max_message_bytes = 0xFFFFFFFF;
    check_refused(&cd, "max_message_bytes", "0xFFFFFFFF");
    cd = method();
    cd.max_send_bytes = 0xFFFFFFFF;
    check_refused(&cd, "max_send_bytes", "0xFFFFFFFF");
    cd = method();
    cd.encoding = "gzip\n";
    check_refused(&cd, "encoding", "with a line's end");
    cd = method();
    cd.compress = true;
    check_refused(&cd, "compress", "without ENSIGN_GZIP");
    assert_non_null(strstr(ensign_error(client)->text, "ENSIGN_GZIP"));
    stop();
}

static void commit_needs_its_reserve(void **state)
{
    ensign_call_desc_t cd = method();
    ensign_call_t k;
    uint8_t *out, *other;
    (void)state;
    start_plain();
    k = ensign_call_open(client, &cd);
    assert_int_equal(ensign_call_commit(client, k, 0, 0), ENSIGN_E_STATE);
    assert_int_equal(ensign_call_commit(client, k, SIZE_MAX, 0), ENSIGN_E_STATE);
    assert_int_equal(ensign_call_reserve(client, k, 10, &out), ENSIGN_OK);
    assert_int_equal(ensign_call_commit(client, k, 11, 0), ENSIGN_E_STATE);
    assert_int_equal(ensign_call_commit(client, k, SIZE_MAX, 0), ENSIGN_E_STATE);
    assert_int_equal(ensign_call_commit(client, k, 10, ENSIGN_COMPRESSED), ENSIGN_E_ARGUMENT);
    assert_int_equal(ensign_call_send(client, k, ensign_str("x"), ENSIGN_COMPRESSED), ENSIGN_E_ARGUMENT);
    memset(out, 'x', 10);
    assert_int_equal(ensign_call_reserve(client, k, SIZE_MAX, &other), ENSIGN_E_TOO_LARGE); /* changes nothing */
    assert_int_equal(ensign_call_commit(client, k, 10, 0), ENSIGN_OK);
    assert_int_equal(ensign_call_commit(client, k, 10, 0), ENSIGN_E_STATE);
    assert_int_equal(ensign_call_reserve(client, k, SIZE_MAX, &out), ENSIGN_E_TOO_LARGE);
    assert_int_equal(ensign_call_reserve(client, k, 10, &out), ENSIGN_OK);
    assert_int_equal(ensign_call_half_close(client, k), ENSIGN_OK);
    assert_int_equal(ensign_call_commit(client, k, 10, 0), ENSIGN_E_STATE);
    stop();
}

/* More than the window that it was given: the call ends, and the connection serves on. */
static void a_server_that_overruns_its_window_is_told_so(void **state)
{
    static const uint8_t body[6000] = { 0, 0, 0, 0x17, 0x6B }; /* a message of 5,995 bytes */
    ensign_call_desc_t cd = method();
    const ensign_notice_t *n;
    ensign_call_t k;
    (void)state;
    start_connected();
    cd.window_bytes = 1024;
    k = call(&cd);
    put_headers(&w, 0, 1, ":status", "200", "content-type", "application/grpc", NULL);
    put_frame(&w, DATA, 0, 1, body, sizeof body);
    feed_frames(&w);
    n = end_of(k, ENSIGN_GRPC_INTERNAL);
    assert_int_equal(n->error->code, ENSIGN_E_ABUSE);
    assert_non_null(strstr(n->error->text, "more than the window"));
    assert_false(n->as.end.from_server);
    cd.unary = true;
    k = call(&cd);
    put_headers(&w, 0, 3, ":status", "200", "content-type", "application/grpc", NULL);
    put_message(&w, 0, 3, "fine");
    put_headers(&w, END_STREAM, 3, "grpc-status", "0", NULL);
    feed_frames(&w);
    reply_of(k, ENSIGN_GRPC_OK);
    stop();
}

/* The flag of the first message follows `encoding`, but for "identity", which is no compression. */
static void the_request_s_flag_follows_the_encoding(void **state)
{
    static const struct { const char *encoding; uint8_t flag; } rows[] = {
        { NULL, 0 }, { "identity", 0 }, { "gzip", 1 }
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensign_call_desc_t cd = method();
        ensi_user_call_t *u;
        start_plain();
        cd.encoding = rows[i].encoding;
        cd.request = ensign_str("x");
        u = (ensi_user_call_t *)(void *)ensi_handle_find(&client->handles, ensign_call_open(client, &cd).id);
        assert_non_null(u);
        assert_int_equal(u->call.out.ptr[0], rows[i].flag);
        stop();
    }
}

/* What comes in behind the deadline and before a tick does not send a call with "0m". */
static void a_call_whose_time_is_up_is_not_sent(void **state)
{
    ensign_call_desc_t cd = method();
    ensign_call_t k;
    const ensign_notice_t *n;
    (void)state;
    start_plain();
    cd.deadline_ms = 100;
    k = ensign_call_open(client, &cd);
    pass(1);
    now += 200;
    dial(ENSIGN_LINK_RPC);
    put_frame(&w, SETTINGS, 0, 0, NULL, 0);
    feed_frames(&w);
    assert_int_equal(client->conn->h2.open, 0);
    assert_int_equal(ensi_client_timer(client, now), 0);
    pass(0);
    n = end_of(k, ENSIGN_GRPC_DEADLINE_EXCEEDED);
    assert_true(n->as.end.unprocessed);
    stop();
}

/* A handle dies with its END; the call behind a wrong number, or a wrong kind, is none. */
static void dead_handles_are_refused(void **state)
{
    ensign_call_desc_t cd = method();
    ensign_call_t k;
    uint8_t *out;
    (void)state;
    start_plain();
    k = ensign_call_open(client, &cd);
    assert_int_equal(ensign_cancel(client, k.id), ENSIGN_OK);
    assert_int_equal(ensign_cancel(client, k.id), ENSIGN_OK);
    assert_int_equal(ensign_call_reserve(client, k, 1, &out), ENSIGN_ENDED);
    assert_true(end_of(k, ENSIGN_GRPC_CANCELLED)->as.end.unprocessed);
    assert_int_equal(ensign_cancel(client, k.id), ENSIGN_E_HANDLE);
    assert_null(ensign_next(client));
    assert_int_equal(ensign_call_half_close(client, k), ENSIGN_E_HANDLE);
    stop();
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_every_pair),
        cmocka_unit_test(status_has_the_specification_s_name),
        cmocka_unit_test(http_status_maps_as_specified),
        cmocka_unit_test(reset_code_maps_as_specified),
        cmocka_unit_test(timeout_has_at_most_eight_digits),
        cmocka_unit_test(numbers_are_whole),
        cmocka_unit_test(percent_codes_are_decoded_and_bad_ones_kept),
        cmocka_unit_test(content_type_has_variants),
        cmocka_unit_test(headers_and_trailers_are_kept_apart),
        cmocka_unit_test(an_encoding_counts_if_it_was_accepted),
        cmocka_unit_test(binary_values_are_decoded),
        cmocka_unit_test(metadata_is_counted_as_a_header_list),
        cmocka_unit_test(a_full_store_takes_a_text_still),
        cmocka_unit_test(a_text_is_cut_between_its_escapes),
        cmocka_unit_test(no_memory_for_metadata_is_noted),
        cmocka_unit_test(messages_have_a_prefix_and_keep_their_order),
        cmocka_unit_test(a_full_buffer_says_again_and_changes_nothing),
        cmocka_unit_test(one_larger_message_is_taken_when_it_is_empty),
        cmocka_unit_test(no_memory_leaves_the_buffer_alone),
        cmocka_unit_test(what_was_sent_is_kept_for_one_retry),
        cmocka_unit_test(the_queue_is_in_the_order_of_asking),
        cmocka_unit_test(the_server_s_word_is_judged),
        cmocka_unit_test(an_empty_text_is_said_to_be_empty),
        cmocka_unit_test(cancel_at_the_deadline_is_the_deadline),
        cmocka_unit_test(the_frames_tell_how_a_call_ended),
        cmocka_unit_test(no_block_that_nghttp2_takes_costs_another_call),
        cmocka_unit_test(a_block_has_eight_continuations),
        cmocka_unit_test(a_text_may_have_any_bytes),
        cmocka_unit_test(an_answer_that_is_no_grpc_is_quoted),
        cmocka_unit_test(a_status_counts_though_the_connection_ends_behind_it),
        cmocka_unit_test(informational_answers_are_passed_over),
        cmocka_unit_test(a_unary_call_ends_once),
        cmocka_unit_test(a_call_that_was_not_sent_survives_goaway),
        cmocka_unit_test(a_call_may_be_forgotten_before_its_headers_go),
        cmocka_unit_test(headers_count_as_sent_with_their_last_byte),
        cmocka_unit_test(too_much_metadata_is_refused),
        cmocka_unit_test(bad_descs_are_refused),
        cmocka_unit_test(commit_needs_its_reserve),
        cmocka_unit_test(a_server_that_overruns_its_window_is_told_so),
        cmocka_unit_test(the_request_s_flag_follows_the_encoding),
        cmocka_unit_test(a_call_whose_time_is_up_is_not_sent),
        cmocka_unit_test(dead_handles_are_refused),
    };
    return cmocka_run_group_tests_name("grpc", tests, NULL, NULL);
}
