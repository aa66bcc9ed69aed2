/* sink.h - the server of the bench, without its sockets: acks each event that is published, sends events as
 * fast as they are taken, each message in a DATA frame of its own, as grpc-go's server does
 *
 * It is made to cost little, so that the client beside it is what is measured: no request header is read (the
 * first message of a stream tells what it is), frames are written by hand, and messages are copies of two
 * patterns. It is no server for anything else: what it does not understand ends the program.
 *
 * An `all` of N: a subscriber gets N events, and when it has acked N of them one more, which tells it that
 * the last ack has arrived. */
#ifndef BENCH_SINK_H
#define BENCH_SINK_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SINK_FRAME_HEAD = 9,
    SINK_FRAME_MAX = 16384,         /* of a payload, both ways: HTTP/2's default */
    SINK_WINDOW = 4 << 20,          /* that we give a stream, and the connection */
    SINK_AHEAD = 64 << 10,          /* bytes of events that wait for room in `out` */
    SINK_PREFIX = 5,                /* of a gRPC message */
    SINK_LOCAL_ID = 16, SINK_EVENT_ID = 10, SINK_TOPIC_ID = 16
};

enum { SINK_DATA, SINK_HEADERS, SINK_PRIORITY, SINK_RST_STREAM, SINK_SETTINGS, SINK_PUSH, SINK_PING,
       SINK_GOAWAY, SINK_WINDOW_UPDATE };

static void sink_die(const char *text)
{
    fprintf(stderr, "sink: %s\n", text);
    exit(1);
}

/* ------------------------------------------------------------------ bytes in a row */
typedef struct sink_bytes_t { uint8_t *p; size_t at, len, cap; } sink_bytes_t; /* [at, len) are in it */

static size_t sink_left(const sink_bytes_t *b)
{
    return b->len - b->at;
}

/* Room for n more; the caller adds to `len` what it has filled. What is left moves to the front only when
 * that is the smaller part. */
static uint8_t *sink_room(sink_bytes_t *b, size_t n)
{
    if (b->at == b->len) b->at = b->len = 0;
    if (b->cap - b->len < n && b->at > 0 && b->at >= b->len - b->at) {
        memmove(b->p, b->p + b->at, b->len - b->at);
        b->len -= b->at;
        b->at = 0;
    }
    if (b->cap - b->len < n) {
        b->cap = 2 * b->cap + n;
        b->p = (uint8_t *)realloc(b->p, b->cap);
        if (!b->p) sink_die("out of memory");
    }
    return b->p + b->len;
}

static void sink_add(sink_bytes_t *b, const void *p, size_t n)
{
    memcpy(sink_room(b, n), p, n);
    b->len += n;
}

static void sink_number(uint8_t *p, size_t bytes, uint32_t v) /* big endian */
{
    while (bytes-- > 0) {
        p[bytes] = (uint8_t)v;
        v >>= 8;
    }
}

static uint32_t sink_read(const uint8_t *p, size_t bytes)
{
    uint32_t v = 0;
    while (bytes-- > 0) v = v << 8 | *p++;
    return v;
}

/* ------------------------------------------------------------------ protobuf */
static void sink_varint(sink_bytes_t *b, uint64_t v)
{
    uint8_t *p = sink_room(b, 10);
    for (; v > 127; v >>= 7, b->len++) *p++ = (uint8_t)(v | 128);
    *p = (uint8_t)v;
    b->len++;
}

static void sink_field(sink_bytes_t *b, uint32_t tag, const void *p, size_t n)
{
    sink_varint(b, tag << 3 | 2);
    sink_varint(b, n);
    sink_add(b, p, n);
}

static void sink_text(sink_bytes_t *b, uint32_t tag, const char *text)
{
    sink_field(b, tag, text, strlen(text));
}

static void sink_value(sink_bytes_t *b, uint32_t tag, uint64_t v)
{
    sink_varint(b, tag << 3);
    sink_varint(b, v);
}

/* What `inner` holds becomes a field of b. */
static void sink_nest(sink_bytes_t *b, uint32_t tag, sink_bytes_t *inner)
{
    sink_field(b, tag, inner->p, inner->len);
    free(inner->p);
    memset(inner, 0, sizeof *inner);
}

static const uint8_t *sink_read_varint(const uint8_t *p, const uint8_t *end, uint64_t *v)
{
    unsigned shift = 0;
    for (*v = 0; p < end && shift < 64; shift += 7) {
        *v |= (uint64_t)(*p & 127) << shift;
        if (*p++ < 128) return p;
    }
    sink_die("a message that is no protobuf");
    return NULL;
}

/* The field of that tag in [p, end), which has bytes; NULL: there is none. */
static const uint8_t *sink_find(const uint8_t *p, const uint8_t *end, uint32_t tag, size_t *len)
{
    uint64_t key, v;

    while (p < end) {
        p = sink_read_varint(p, end, &key);
        p = sink_read_varint(p, end, &v); /* no message of a client's has another wire type */
        if ((key & 7) == 0) continue;
        if ((key & 7) != 2 || v > (uint64_t)(end - p)) sink_die("a message that is no protobuf");
        *len = (size_t)v;
        if (key >> 3 == tag) return p;
        p += v;
    }
    return NULL;
}

/* ------------------------------------------------------------------ the patterns of what is sent */
typedef struct sink_pattern_t {
    sink_bytes_t bytes;             /* a message, its prefix before it */
    size_t id;                      /* where its id goes */
} sink_pattern_t;

static void sink_time(sink_bytes_t *b, uint32_t tag)
{
    sink_bytes_t t = { 0 };
    sink_value(&t, 1, 1767225600);
    sink_value(&t, 2, 123456789);
    sink_nest(b, tag, &t);
}

/* The message: one field with what is in `inner`. The id stands at the beginning of that. */
static void sink_pattern(sink_pattern_t *p, uint32_t tag, sink_bytes_t *inner)
{
    sink_bytes_t m = { 0 };
    size_t rest = inner->len;

    sink_nest(&m, tag, inner);
    sink_number(sink_room(&p->bytes, SINK_PREFIX), SINK_PREFIX, (uint32_t)m.len);
    p->bytes.len = SINK_PREFIX;
    sink_add(&p->bytes, m.p, m.len);
    p->id = p->bytes.len - rest + 2;
    free(m.p);
}

static void sink_ack_pattern(sink_pattern_t *p)
{
    static const uint8_t id[SINK_LOCAL_ID] = { 0 };
    sink_bytes_t ack = { 0 };
    sink_field(&ack, 1, id, sizeof id);
    sink_time(&ack, 2);
    sink_pattern(p, 1, &ack);
}

/* An event as the service delivers it: type, times and publisher are there. */
static void sink_event_pattern(sink_pattern_t *p, size_t bytes)
{
    static const uint8_t id[SINK_EVENT_ID] = { 1, 136, 44, 90 };
    sink_bytes_t wrap = { 0 }, event = { 0 }, type = { 0 }, by = { 0 };
    char *data = (char *)malloc(bytes + 1);

    if (!data) sink_die("out of memory");
    memset(data, 'x', bytes);
    sink_text(&type, 1, "BenchEvent");
    sink_value(&type, 2, 1);
    sink_value(&type, 3, 2);
    sink_value(&type, 4, 3);
    sink_field(&event, 2, data, bytes);
    sink_value(&event, 4, 50);
    sink_nest(&event, 5, &type);
    sink_time(&event, 15);
    sink_text(&by, 1, "01H1PA4FA9G2Y79Z5FC36CWYYJ");
    sink_text(&by, 2, "127.0.0.1:40000");
    sink_text(&by, 3, "01H1PA4P7C6VT5KZCXH56H1XHS");
    sink_field(&wrap, 1, id, sizeof id);
    sink_text(&wrap, 2, "TOPICTOPICTOPIC!");
    sink_value(&wrap, 3, 1000000);
    sink_value(&wrap, 4, 1);
    sink_value(&wrap, 5, 20);
    sink_nest(&wrap, 6, &by);
    sink_nest(&wrap, 9, &event);
    sink_time(&wrap, 15);
    sink_pattern(p, 1, &wrap);
    free(data);
}

/* The first answer on a stream: the topic "bench" and its id. */
static void sink_ready_pattern(sink_pattern_t *p, uint32_t tag)
{
    sink_bytes_t ready = { 0 }, topic = { 0 };
    sink_text(&topic, 1, "bench");
    sink_text(&topic, 2, "TOPICTOPICTOPIC!");
    sink_text(&ready, 1, "bench");
    sink_text(&ready, 2, "sink");
    sink_nest(&ready, 3, &topic);
    sink_pattern(p, tag, &ready);
}

/* ------------------------------------------------------------------ a connection and its streams */
typedef enum sink_kind_t { SINK_NEW, SINK_PUBLISH, SINK_SUBSCRIBE } sink_kind_t;

typedef struct sink_stream_t {
    uint32_t id;
    sink_kind_t kind;
    int64_t window;                 /* that the client gives us */
    uint32_t uncredited;            /* bytes of it that we have not given back */
    uint64_t sent, acked;           /* events to a subscriber */
    sink_bytes_t in;                /* a message of which a part is still to come */
    sink_bytes_t queue;             /* messages that wait for windows */
    size_t left;                    /* of the first one, when a part of it has left */
} sink_stream_t;

typedef struct sink_t {
    uint64_t all;                   /* events for a subscriber */
    sink_pattern_t ack, event, ready_publish, ready_subscribe;
    sink_stream_t *streams;
    size_t count, next;             /* next: whose turn it is to send */
    int64_t window, stream_window;
    uint32_t uncredited;
    bool greeted;
    sink_bytes_t in, out;
    uint64_t messages;              /* events that came, or acks of them */
} sink_t;

static void sink_frame(sink_t *s, int type, int flags, uint32_t stream, const void *payload, size_t len)
{
    uint8_t *p = sink_room(&s->out, SINK_FRAME_HEAD + len);
    sink_number(p, 3, (uint32_t)len);
    p[3] = (uint8_t)type;
    p[4] = (uint8_t)flags;
    sink_number(p + 5, 4, stream);
    if (len > 0) memcpy(p + SINK_FRAME_HEAD, payload, len);
    s->out.len += SINK_FRAME_HEAD + len;
}

static void sink_window_update(sink_t *s, uint32_t stream, uint32_t by)
{
    uint8_t payload[4];
    sink_number(payload, sizeof payload, by);
    sink_frame(s, SINK_WINDOW_UPDATE, 0, stream, payload, sizeof payload);
}

static void sink_begin(sink_t *s, uint64_t all, size_t bytes)
{
    uint8_t setting[6] = { 0, 4 }; /* INITIAL_WINDOW_SIZE */

    memset(s, 0, sizeof *s);
    s->all = all;
    s->window = s->stream_window = 65535;
    sink_ack_pattern(&s->ack);
    sink_event_pattern(&s->event, bytes);
    sink_ready_pattern(&s->ready_publish, 3);
    sink_ready_pattern(&s->ready_subscribe, 2);
    sink_number(setting + 2, 4, SINK_WINDOW);
    sink_frame(s, SINK_SETTINGS, 0, 0, setting, sizeof setting);
    sink_window_update(s, 0, SINK_WINDOW - 65535);
}

static void sink_end(sink_t *s)
{
    for (size_t i = 0; i < s->count; i++) {
        free(s->streams[i].in.p);
        free(s->streams[i].queue.p);
    }
    free(s->streams);
    free(s->ack.bytes.p);
    free(s->event.bytes.p);
    free(s->ready_publish.bytes.p);
    free(s->ready_subscribe.bytes.p);
    free(s->in.p);
    free(s->out.p);
}

/* Clients open their streams in the order of their ids, and a run has few that it ends. */
static sink_stream_t *sink_stream(sink_t *s, uint32_t id)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (s->streams[middle].id == id) return &s->streams[middle];
        if (s->streams[middle].id < id) low = middle + 1;
        else high = middle;
    }
    return NULL;
}

static void sink_open(sink_t *s, uint32_t id)
{
    static const uint8_t headers[] = { 0x88, /* :status 200; content-type */
        0x0F, 0x10, 16, 'a', 'p', 'p', 'l', 'i', 'c', 'a', 't', 'i', 'o', 'n', '/', 'g', 'r', 'p', 'c' };
    sink_stream_t *x;

    if (sink_stream(s, id)) return; /* the client's trailers */
    if ((s->count & (s->count - 1)) == 0) {
        size_t room = s->count ? 2 * s->count : 1;
        s->streams = (sink_stream_t *)realloc(s->streams, room * sizeof *s->streams);
        if (!s->streams) sink_die("out of memory");
    }
    x = &s->streams[s->count++];
    memset(x, 0, sizeof *x);
    x->id = id;
    x->window = s->stream_window;
    sink_frame(s, SINK_HEADERS, 4, id, headers, sizeof headers);
}

static void sink_queue(sink_stream_t *x, const sink_pattern_t *p, const void *id, size_t id_len)
{
    uint8_t *at = sink_room(&x->queue, p->bytes.len);
    memcpy(at, p->bytes.p, p->bytes.len);
    if (id_len > 0) memcpy(at + p->id, id, id_len);
    x->queue.len += p->bytes.len;
}

/* ------------------------------------------------------------------ what comes */
static void sink_message(sink_t *s, sink_stream_t *x, const uint8_t *p, size_t n)
{
    const uint8_t *end = p + n, *wrap, *id = NULL;
    size_t len = 0, id_len = 0;

    if (x->kind == SINK_NEW) {
        x->kind = sink_find(p, end, 2, &len) ? SINK_PUBLISH : SINK_SUBSCRIBE;
        sink_queue(x, x->kind == SINK_PUBLISH ? &s->ready_publish : &s->ready_subscribe, NULL, 0);
        return;
    }
    s->messages++;
    if (x->kind == SINK_SUBSCRIBE) {
        x->acked++;
        return;
    }
    wrap = sink_find(p, end, 1, &len);
    if (wrap) id = sink_find(wrap, wrap + len, 16, &id_len);
    if (!id || id_len != SINK_LOCAL_ID) sink_die("an event without a local id of 16 bytes");
    sink_queue(x, &s->ack, id, id_len);
}

/* Whole messages are read where they lie. */
static void sink_data(sink_t *s, sink_stream_t *x, const uint8_t *p, size_t n)
{
    while (n > 0 || x->in.len > 0) {
        sink_bytes_t *in = &x->in;
        const uint8_t *from = in->len > 0 ? in->p : p;
        size_t have = in->len > 0 ? in->len : n, want = SINK_PREFIX, some;

        if (have >= SINK_PREFIX) want += sink_read(from + 1, 4);
        if (have >= want) {
            sink_message(s, x, from + SINK_PREFIX, want - SINK_PREFIX);
            if (from == p) p += want, n -= want;
            else in->len = 0;
            continue;
        }
        if (n == 0) return;
        some = in->len > 0 && want - have < n ? want - have : n;
        sink_add(in, p, some);
        p += some, n -= some;
    }
}

static void sink_credit(sink_t *s, uint32_t *uncredited, uint32_t stream, size_t n)
{
    *uncredited += (uint32_t)n;
    if (*uncredited < SINK_WINDOW / 4) return;
    sink_window_update(s, stream, *uncredited);
    *uncredited = 0;
}

static void sink_settings(sink_t *s, const uint8_t *p, size_t n)
{
    for (; n >= 6; p += 6, n -= 6) {
        int64_t by = (int64_t)sink_read(p + 2, 4) - s->stream_window;
        if (sink_read(p, 2) != 4) continue; /* INITIAL_WINDOW_SIZE */
        s->stream_window += by;
        for (size_t i = 0; i < s->count; i++) s->streams[i].window += by;
    }
    sink_frame(s, SINK_SETTINGS, 1, 0, NULL, 0);
}

static void sink_hear(sink_t *s, const uint8_t *head, const uint8_t *p, size_t n)
{
    uint32_t id = sink_read(head + 5, 4) & 0x7FFFFFFF;
    sink_stream_t *x = sink_stream(s, id);
    bool ack = (head[4] & 1) != 0;

    switch (head[3]) {
    case SINK_DATA:
        sink_credit(s, &s->uncredited, 0, n);
        if (!x) return;
        sink_credit(s, &x->uncredited, id, n);
        sink_data(s, x, p, n);
        return;
    case SINK_HEADERS: sink_open(s, id); return;
    case SINK_RST_STREAM:
        if (x) x->window = INT64_MIN / 2; /* nothing leaves on it any more */
        return;
    case SINK_SETTINGS:
        if (!ack) sink_settings(s, p, n);
        return;
    case SINK_PING:
        if (!ack) sink_frame(s, SINK_PING, 1, 0, p, n);
        return;
    case SINK_WINDOW_UPDATE:
        if (id == 0) s->window += sink_read(p, 4);
        else if (x) x->window += sink_read(p, 4);
        return;
    default: return;
    }
}

/* Reads what the caller has added to `in`. */
static void sink_take(sink_t *s)
{
    sink_bytes_t *in = &s->in;

    if (!s->greeted && sink_left(in) >= 24) { /* "PRI * HTTP/2.0" and so on */
        s->greeted = true;
        in->at += 24;
    }
    while (s->greeted && sink_left(in) >= SINK_FRAME_HEAD) {
        const uint8_t *head = in->p + in->at;
        size_t len = sink_read(head, 3);
        if (len > SINK_FRAME_MAX) sink_die("a frame that is too large");
        if (sink_left(in) < SINK_FRAME_HEAD + len) return;
        sink_hear(s, head, head + SINK_FRAME_HEAD, len);
        in->at += SINK_FRAME_HEAD + len;
    }
}

/* ------------------------------------------------------------------ what goes */
static void sink_events(sink_t *s, sink_stream_t *x)
{
    if (x->kind != SINK_SUBSCRIBE) return;
    while (x->sent < s->all + (x->acked >= s->all) && sink_left(&x->queue) < SINK_AHEAD) {
        uint8_t id[SINK_EVENT_ID] = { 1, 136, 44, 90 };
        sink_number(id + 6, 4, (uint32_t)x->sent++);
        sink_queue(x, &s->event, id, sizeof id);
    }
}

/* A frame of this stream; false: it has none, or no window. */
static bool sink_send(sink_t *s, sink_stream_t *x)
{
    size_t n;

    sink_events(s, x);
    if (sink_left(&x->queue) == 0 || s->window <= 0 || x->window <= 0) return false;
    if (x->left == 0) x->left = SINK_PREFIX + sink_read(x->queue.p + x->queue.at + 1, 4);
    n = x->left < SINK_FRAME_MAX ? x->left : SINK_FRAME_MAX;
    if ((int64_t)n > s->window) n = (size_t)s->window;
    if ((int64_t)n > x->window) n = (size_t)x->window;
    sink_frame(s, SINK_DATA, 0, x->id, x->queue.p + x->queue.at, n);
    x->queue.at += n;
    x->left -= n;
    s->window -= (int64_t)n;
    x->window -= (int64_t)n;
    return true;
}

/* Fills `out` with frames, as long as it has less than `limit`. The streams take turns of all they have. */
static void sink_fill(sink_t *s, size_t limit)
{
    for (size_t idle = 0; idle < s->count && sink_left(&s->out) < limit; idle++) {
        sink_stream_t *x = &s->streams[s->next];
        while (sink_left(&s->out) < limit && sink_send(s, x)) idle = 0;
        s->next = (s->next + 1) % s->count;
    }
}
#endif
