/* streams.c - Publish and Subscribe; see service.h
 *
 * Holds  a stream's topics are chosen when it opens: one bit for each topic that there was then. A publish
 *        stream without a filter takes events for later topics too, unless the server is strict.
 *        An event's frame is written once, into the broker's arena, and copied to each subscriber from there.
 *        Replies to a publisher leave in the order of its events: what goes through the broker is answered
 *        by the broker in that order, and a nack that was asked for (--nack-every) waits for its turn.
 *        A publish stream ends behind the commit of its last event, and behind the acks that are held back
 *        (--ack-delay), so its acks always come before close_stream. Strict, it ends at once, and acks that
 *        have not been sent by then are lost, as are those beyond QUEUE_MESSAGES that nobody reads. */
#include "messages.h"
#include "service.h"
#include <stdlib.h>
#include <string.h>

#define EVENT_MAX 5243000u      /* bytes of EventWrapper.event */
#define FRAME_HEAD 11u          /* gRPC prefix, tag and at most five bytes of length, in front of a wrapper */
#define WRAPPER_GROWTH 64u /* by the id, and by numbers that the publisher wrote shorter than nanopb does */
#define COMMITTED_MAX 32u
#define OVERSIZE_MAX (2 * MESSAGE_MAX)  /* bytes; a message between the two is nacked, its stream lives */

/* Replies that wait, first in first out: a head, then the frame. `until`: a time, or a count of answers. */
typedef struct waiting_t { int64_t until; size_t len; } waiting_t;

typedef struct publisher_t {
    service_t *service;
    call_t    *call;
    bool      open, finishing;
    bool      fixed;                            /* no topic but the allowed ones, whatever is made later */
    int       status;                           /* how it ends, once finishing */
    const char *status_text;
    uint8_t  *allowed, *seen;                   /* bit sets over the topics' indices */
    size_t    bits, seen_bits;
    buf_t     provenance;                       /* field 6 of each event's wrapper, encoded */
    buf_t     in_turn;                          /* nacks that wait for the answers to earlier events */
    buf_t     late;                             /* replies that wait for their time; one delay for all */
    uint64_t  good, answered;                   /* events to be stored; those that the broker answered */
    uint64_t  events, topics, acks, nacks, lost;
    struct publisher_t *next, **back;
} publisher_t;

typedef struct subscriber_t {
    bool      open, joined;
    topic_t **topics;
    size_t    count;
    uint64_t  delivered, dropped;
} subscriber_t;

static void put_be32(uint8_t *p, size_t n)
{
    for (unsigned i = 0; i < 4; i++) p[i] = (uint8_t)(n >> (24 - 8 * i) & 0xff);
}

/* The message with its prefix; nothing if it could not be encoded. */
static buf_t framed(msg_kind_t kind, const void *message)
{
    buf_t b = { NULL, 0, 0, 0 };
    size_t n, written = 0;
    uint8_t *p;

    if (!msg_size(kind, message, &n)) return b;
    p = buf_room(&b, 5 + n);
    if (!msg_encode(kind, message, p + 5, n, &written)) return b;
    p[0] = 0;
    put_be32(p + 1, written);
    b.end = 5 + written;
    return b;
}

static void send_message(call_t *c, msg_kind_t kind, const void *message)
{
    buf_t b = framed(kind, message);
    if (buf_len(&b)) call_send_framed(c, buf_bytes(&b));
    buf_free(&b);
}

/* Both streams look before they read anything. */
static bool may_open(service_t *s, call_t *c)
{
    size_t i = 0;

    if (!c->claims.has_project) {
        call_end(c, GRPC_PERMISSION_DENIED, TEXT_PERMISSION);
        return false;
    }
    while (i < s->topics->count && !ulid_eq(&s->topics->all[i]->project, &c->claims.project)) i++;
    if (i < s->topics->count) return true;
    call_end(c, GRPC_FAILED_PRECONDITION, "no topics available");
    return false;
}

static bool has_bit(const uint8_t *set, size_t bits, size_t i)
{
    return i < bits && (set[i / 8] >> (i % 8) & 1);
}

static void set_bit(uint8_t *set, size_t i)
{
    set[i / 8] |= (uint8_t)(1u << (i % 8));
}

/* The topics that a filter leaves, as bits; no filter: all of the project. Returns how many. */
static size_t choose(const service_t *s, const call_t *c, ensign_slice_t filter, uint32_t tag, uint8_t *set)
{
    const topics_t *all = s->topics;
    ensign_slice_t text;
    size_t at = 0, n = 0;

    if (filter.len == 0) {
        for (size_t i = 0; i < all->count; i++)
            if (ulid_eq(&all->all[i]->project, &c->claims.project)) set_bit(set, i);
    }
    while (msg_next(filter, tag, &at, &text)) {
        topic_t *t = topics_lookup(all, &c->claims.project, text);
        if (t) set_bit(set, t->index);
    }
    for (size_t i = 0; i < all->count; i++) n += has_bit(set, all->count, i);
    return n;
}

/* StreamReady.topics of the chosen ones. */
static void put_ready_topics(buf_t *out, const topics_t *all, const uint8_t *set)
{
    buf_t entry = { NULL, 0, 0, 0 };

    for (size_t i = 0; i < all->count; i++) {
        const topic_t *t = all->all[i];
        if (!has_bit(set, all->count, i)) continue;
        entry.start = entry.end = 0;
        msg_put_field(&entry, 1, slice_text(t->name));
        msg_put_field(&entry, 2, slice_of(t->id.b, sizeof t->id.b));
        msg_put_field(out, MSG_STREAM_READY_TOPICS_TAG, buf_bytes(&entry));
    }
    buf_free(&entry);
}

/* ---- Publish */

void publish_open(service_t *s, call_t *c)
{
    publisher_t *p;

    if (!may_open(s, c)) return;
    p = c->state = x_alloc(sizeof *p);
    p->service = s;
    p->call = c;
    p->next = s->publishers;
    p->back = &s->publishers;
    if (p->next) p->next->back = &p->next;
    s->publishers = p;
    s->publishing++;
    if (s->strict) c->out_max = 2 * QUEUE_MESSAGES;     /* a bound for nacks; acks are dropped before */
    else c->in_max = OVERSIZE_MAX;
}

void publish_closed(service_t *s, call_t *c)
{
    publisher_t *p = c->state;

    if (!p) return;
    c->state = NULL;
    c->out_held = 0;
    s->publishing--;
    *p->back = p->next;
    if (p->next) p->next->back = p->back;
    if (p->lost) log_line("%s: %llu acks lost, nobody read them", c->peer, (unsigned long long)p->lost);
    free(p->allowed);
    free(p->seen);
    buf_free(&p->provenance);
    buf_free(&p->in_turn);
    buf_free(&p->late);
    free(p);
}

static void put_call(call_t ***list, size_t *count, size_t *cap, call_t *c)
{
    if (*count == *cap) {
        *cap = *cap ? 2 * *cap : 16;
        *list = x_realloc(*list, *cap * sizeof **list);
    }
    (*list)[(*count)++] = c;
}

static void close_publisher(call_t *c)
{
    publisher_t *p = c->state;
    msg_publisher_reply_t reply;

    memset(&reply, 0, sizeof reply);
    reply.has_close_stream = true;
    reply.close_stream.events = p->events;
    reply.close_stream.topics = p->topics;
    reply.close_stream.acks = p->acks;
    reply.close_stream.nacks = p->nacks;
    send_message(c, MSG_PUBLISHER_REPLY, &reply);
    call_end(c, p->status, p->status_text);
}

/* Strict: now. Else later: events of this turn may still wait for their acks. */
static void finish(service_t *s, call_t *c, int status, const char *text)
{
    publisher_t *p = c->state;

    if (p->finishing) return;
    p->finishing = true;
    p->status = status;
    p->status_text = text;
    if (s->strict) close_publisher(c);
    else put_call(&s->finishing, &s->finishing_count, &s->finishing_cap, c);
}

static void join_topics(subscriber_t *sub, call_t *c)
{
    sub->joined = true;
    for (size_t i = 0; i < sub->count; i++) broker_subscribe(sub->topics[i], c);
}

void service_after_commit(service_t *s)
{
    for (size_t i = 0; i < s->finishing_count; i++) {
        const publisher_t *p = s->finishing[i]->state;
        if (p && buf_len(&p->late) == 0) close_publisher(s->finishing[i]); /* else see service_tick */
    }
    s->finishing_count = 0;
    for (size_t i = 0; i < s->joining_count; i++)
        if (s->joining[i]->state) join_topics(s->joining[i]->state, s->joining[i]);
    s->joining_count = 0;
}

/* ---- replies of a publish stream, now or later */

static const uint8_t tag_ack = MSG_PUBLISHER_REPLY_ACK_TAG << 3 | MSG_WIRE_BYTES;

/* A frame's first tag tells what it is. False: the connection is to be cut before this ack. */
static bool counts(publisher_t *p, uint8_t tag)
{
    if (tag != tag_ack) {
        p->nacks++;
        return true;
    }
    if (!call_counts(p->call)) return false;
    p->acks++;
    return true;
}

static void put_waiting(buf_t *queue, int64_t until, ensign_slice_t frame)
{
    waiting_t head;

    head.until = until;
    head.len = frame.len;
    buf_put(queue, &head, sizeof head);
    buf_put(queue, frame.ptr, frame.len);
}

/* The first one, if its time has come. It stays until take_waiting. */
static bool first_waiting(const buf_t *queue, int64_t now, ensign_slice_t *frame)
{
    waiting_t head;

    if (buf_len(queue) == 0) return false;
    memcpy(&head, queue->ptr + queue->start, sizeof head);
    *frame = slice_of(queue->ptr + queue->start + sizeof head, head.len);
    return head.until <= now;
}

static void take_waiting(buf_t *queue, ensign_slice_t frame)
{
    buf_take(queue, sizeof(waiting_t) + frame.len);
}

static void answer(publisher_t *p, ensign_slice_t frame)
{
    int64_t delay = p->service->faults.ack_delay_ms;

    if (delay) {
        put_waiting(&p->late, now_ms() + delay, frame);
        p->call->out_held++;
    } else if (counts(p, frame.ptr[5])) {
        call_send_framed(p->call, frame);
    }
}

/* Behind each answer of the broker. */
static void answer_in_turn(publisher_t *p)
{
    ensign_slice_t frame;

    while (first_waiting(&p->in_turn, (int64_t)p->answered, &frame)) {
        answer(p, frame);
        take_waiting(&p->in_turn, frame);
    }
}

static void answer_late(service_t *s, publisher_t *p, int64_t now)
{
    ensign_slice_t frame;

    while (first_waiting(&p->late, now, &frame)) {
        if (counts(p, frame.ptr[5])) call_send_framed(p->call, frame);
        take_waiting(&p->late, frame);
        p->call->out_held--;
    }
    if (p->finishing && buf_len(&p->late) == 0)
        put_call(&s->finishing, &s->finishing_count, &s->finishing_cap, p->call);
}

void service_tick(service_t *s, int64_t now)
{
    if (s->faults.ack_delay_ms == 0) return;
    for (publisher_t *p = s->publishers; p; p = p->next)
        if (buf_len(&p->late)) answer_late(s, p, now);
}

int64_t service_due(const service_t *s)
{
    int64_t due = 0;
    waiting_t head;

    if (s->faults.ack_delay_ms == 0) return 0;
    for (const publisher_t *p = s->publishers; p; p = p->next) {
        if (buf_len(&p->late) == 0) continue;
        memcpy(&head, p->late.ptr + p->late.start, sizeof head);
        if (due == 0 || head.until < due) due = head.until;
    }
    return due;
}

static void remember_provenance(publisher_t *p, const call_t *c, ensign_slice_t client_id)
{
    buf_t b = { NULL, 0, 0, 0 };
    ensign_slice_t parts[4];

    parts[0] = slice_text(c->claims.subject);
    parts[1] = slice_text(c->peer);
    parts[2] = client_id;
    parts[3] = slice_text(c->user_agent);
    for (uint32_t i = 0; i < 4; i++)
        if (parts[i].len) msg_put_field(&b, i + 1, parts[i]);
    msg_put_field(&p->provenance, MSG_EVENT_WRAPPER_PUBLISHER_TAG, buf_bytes(&b));
    buf_free(&b);
}

static void publish_begin(service_t *s, call_t *c, const msg_open_stream_t *open)
{
    publisher_t *p = c->state;
    msg_publisher_reply_t reply;
    buf_t topics = { NULL, 0, 0, 0 };

    p->bits = p->seen_bits = s->topics->count;
    p->allowed = x_alloc(p->bits / 8 + 1);
    p->seen = x_alloc(p->bits / 8 + 1);
    p->fixed = s->strict || open->topics.len;
    if (choose(s, c, open->topics, MSG_OPEN_STREAM_TOPICS_TAG, p->allowed) == 0) {
        call_end(c, GRPC_FAILED_PRECONDITION, "no topics available");
        return;
    }
    p->open = true;
    remember_provenance(p, c, open->client_id);
    memset(&reply, 0, sizeof reply);
    reply.has_ready = true;
    reply.ready.client_id = open->client_id.len ? open->client_id : slice_text(c->claims.subject);
    reply.ready.server_id = slice_text(SERVER_NAME);
    put_ready_topics(&topics, s->topics, p->allowed);
    reply.ready.topics.ptr = topics.ptr;
    reply.ready.topics.len = buf_len(&topics);
    send_message(c, MSG_PUBLISHER_REPLY, &reply);
    buf_free(&topics);
}

static buf_t nack_frame(ensign_slice_t local_id, int64_t code, const char *text)
{
    msg_publisher_reply_t m;

    memset(&m, 0, sizeof m);
    m.has_nack = true;
    m.nack.id = local_id;
    m.nack.code = (int32_t)code;
    m.nack.error = slice_text(text);
    return framed(MSG_PUBLISHER_REPLY, &m);
}

static void send_nack(publisher_t *p, ensign_slice_t local_id, int64_t code, const char *text)
{
    buf_t b = nack_frame(local_id, code, text);
    if (buf_len(&b)) answer(p, buf_bytes(&b));
    buf_free(&b);
}

/* The one that --nack-every asks for, where its event's ack would have stood. */
static void send_nack_in_turn(publisher_t *p, ensign_slice_t local_id)
{
    int64_t code = p->service->faults.nack_code;
    buf_t b = nack_frame(local_id, code, nack_text(code));

    if (buf_len(&b)) put_waiting(&p->in_turn, (int64_t)p->events, buf_bytes(&b));
    buf_free(&b);
    answer_in_turn(p);
}

/* The topic of an event, or NULL and why not. */
static topic_t *event_topic(const service_t *s, const publisher_t *p, ensign_slice_t id, const char **fault)
{
    topic_t *t;
    ulid_t ulid;

    *fault = "no topic id specified";
    if (id.len == 0) return NULL;
    *fault = "invalid topic id";
    if (!ulid_from(id, &ulid)) return NULL;
    *fault = "topic unknown or unhandled";
    t = topics_by_id(s->topics, &ulid);
    if (!t && s->strict) t = topics_gone(s->topics, &ulid);     /* its events are stored as before */
    if (!t || has_bit(p->allowed, p->bits, t->index)) return t;
    /* Made later. The client learnt of it elsewhere: ready told what there was. */
    return !p->fixed && t->index >= p->bits && ulid_eq(&t->project, &p->call->claims.project) ? t : NULL;
}

static void see_topic(const service_t *s, publisher_t *p, const topic_t *t)
{
    size_t bits = s->topics->count;

    if (t->index >= p->seen_bits) {
        p->seen = x_realloc(p->seen, bits / 8 + 1);
        memset(p->seen + p->seen_bits / 8 + 1, 0, bits / 8 - p->seen_bits / 8);
        p->seen_bits = bits;
    }
    if (!has_bit(p->seen, p->seen_bits, t->index)) p->topics++;
    set_bit(p->seen, t->index);
}

static size_t timestamp_size(stamp_t t)
{
    return (t.seconds ? 1 + msg_varint_size((uint64_t)t.seconds) : 0) +
           (t.nanos ? 1 + msg_varint_size((uint64_t)t.nanos) : 0);
}

/* A Timestamp as field `tag`, below 16. By hand: it is written twice for each event. */
static uint8_t *put_timestamp(uint8_t *p, uint32_t tag, stamp_t t)
{
    *p++ = (uint8_t)(tag << 3 | MSG_WIRE_BYTES);
    *p++ = (uint8_t)timestamp_size(t);
    if (t.seconds) {
        *p++ = 1 << 3;
        p = msg_put_varint(p, (uint64_t)t.seconds);
    }
    if (t.nanos) {
        *p++ = 2 << 3;
        p = msg_put_varint(p, (uint64_t)t.nanos);
    }
    return p;
}

static bool accept_event(service_t *s, call_t *c, topic_t *t, msg_event_wrapper_t *w, size_t size)
{
    publisher_t *p = c->state;
    buf_t b = { NULL, 0, 0, 0 };
    ensign_slice_t local = w->local_id;
    bool ok;
    (void)size;
    w->local_id.len = w->id.len = 0;
    w->offset = w->epoch = 0;
    w->has_publisher = w->has_committed = false;
    ok = msg_put(&b, MSG_EVENT_WRAPPER, w);
    buf_put(&b, p->provenance.ptr, buf_len(&p->provenance));
    if (ok) broker_put(s->broker, c, t, buf_bytes(&b), local);
    buf_free(&b);
    return ok;
}

/* An event whose message is larger than MESSAGE_MAX would end a strict stream before it comes here. */
static bool too_large(const msg_event_wrapper_t *w, size_t size)
{
    return w->event.len > EVENT_MAX || size > MESSAGE_MAX;
}

static bool nack_wanted(const service_t *s, publisher_t *p)
{
    int64_t every = s->faults.nack_every;
    return every && ++p->good % (uint64_t)every == 0;
}

/* For --verbose; t: NULL where the event names no topic that there is. */
static void log_nack(const call_t *c, const topic_t *t, ensign_slice_t topic_id, int64_t code,
                     const char *text)
{
    char id[ULID_TEXT + 1] = "(no id)";
    ulid_t ulid;

    if (ulid_from(topic_id, &ulid)) ulid_text(&ulid, id);
    log_line("%s: nack %s, topic %s: %s", c->peer, nack_name(code), t ? t->name : id, text);
}

static void refuse(call_t *c, const topic_t *t, const msg_event_wrapper_t *w, int64_t code)
{
    log_nack(c, t, w->topic_id, code, nack_text(code));
    send_nack(c->state, w->local_id, code, nack_text(code));
}

static void publish_event(service_t *s, call_t *c, msg_event_wrapper_t *w, size_t size)
{
    publisher_t *p = c->state;
    const char *fault;
    topic_t *t = event_topic(s, p, w->topic_id, &fault);

    if (!t) {
        log_nack(c, NULL, w->topic_id, MSG_NACK_CODE_TOPIC_UNKNOWN, fault);
        send_nack(p, w->local_id, MSG_NACK_CODE_TOPIC_UNKNOWN, fault);
    } else if (t->deleting && !s->strict) {
        refuse(c, t, w, MSG_NACK_CODE_TOPIC_DELETED);
    } else if (t->readonly && !s->strict) {
        refuse(c, t, w, MSG_NACK_CODE_TOPIC_ARCHIVED);
    } else if (too_large(w, size)) {
        refuse(c, t, w, MSG_NACK_CODE_MAX_EVENT_SIZE_EXCEEDED);
    } else if (nack_wanted(s, p)) {
        log_nack(c, t, w->topic_id, s->faults.nack_code, "refused on purpose (--nack-every)");
        send_nack_in_turn(p, w->local_id);
    } else if (!accept_event(s, c, t, w, size)) {
        refuse(c, t, w, MSG_NACK_CODE_INTERNAL);
    } else {
        p->events++;
        see_topic(s, p, t);
    }
}

void publish_message(service_t *s, call_t *c, ensign_slice_t message)
{
    publisher_t *p = c->state;
    msg_publisher_request_t request;

    if (p->finishing) return;
    if (!msg_decode(MSG_PUBLISHER_REQUEST, &request, message))
        call_end(c, GRPC_INTERNAL, TEXT_BAD_MESSAGE);
    else if (!p->open && request.has_open_stream)
        publish_begin(s, c, &request.open_stream);
    else if (!p->open)
        call_end(c, GRPC_FAILED_PRECONDITION,
                 "an open stream message must be sent immediately after opening the stream");
    else if (request.has_event)
        publish_event(s, c, &request.event, message.len);
    else if (request.has_open_stream)
        finish(s, c, GRPC_ABORTED, "cannot send multiple open stream messages");
    else
        finish(s, c, GRPC_FAILED_PRECONDITION, "unhandled publisher request message <nil>");
}

void publish_half_close(service_t *s, call_t *c)
{
    publisher_t *p = c->state;
    if (p->open) finish(s, c, GRPC_OK, NULL);
    else call_end(c, GRPC_OK, NULL);
}

void publish_deadline(service_t *s, call_t *c)
{
    publisher_t *p = c->state;
    if (p->open) finish(s, c, GRPC_ABORTED, "could not recv event from client");
    else call_end(c, GRPC_DEADLINE_EXCEEDED, TEXT_DEADLINE);
}

void publish_stop(service_t *s, call_t *c)
{
    publisher_t *p = c->state;
    if (p->open) finish(s, c, GRPC_UNAVAILABLE, "the server is stopping");
    else call_end(c, GRPC_UNAVAILABLE, "the server is stopping");
}

/* ---- what the broker says */

/* PublisherReply { ack { id, committed } }, straight into the call's queue where nothing holds it back. */
static void send_ack(publisher_t *p, ensign_slice_t local_id, stamp_t committed)
{
    bool late = p->service->faults.ack_delay_ms != 0;
    size_t stamp = 2 + timestamp_size(committed);
    size_t inner = (local_id.len ? msg_bytes_size(MSG_ACK_ID_TAG, local_id.len) : 0) + stamp;
    size_t body = msg_bytes_size(MSG_PUBLISHER_REPLY_ACK_TAG, inner);
    buf_t b = { NULL, 0, 0, 0 };
    uint8_t *frame = late ? buf_room(&b, 5 + body) : call_room(p->call, 5 + body), *at = frame;

    if (!frame) return;
    at[0] = 0;
    put_be32(at + 1, body);
    at[5] = tag_ack;
    at = msg_put_varint(at + 6, inner);
    if (local_id.len) at = msg_put_bytes(at, MSG_ACK_ID_TAG, local_id);
    put_timestamp(at, MSG_ACK_COMMITTED_TAG, committed);
    if (late) answer(p, slice_of(frame, 5 + body));
    else if (counts(p, tag_ack)) call_sent(p->call, 5 + body);
    buf_free(&b);
}

static void on_ack(void *publisher, ensign_slice_t local_id, stamp_t committed)
{
    call_t *c = publisher;
    publisher_t *p = c->state;

    if (!p) return;
    p->answered++;
    if (p->service->strict && c->out_messages + c->out_held >= QUEUE_MESSAGES) p->lost++;
    else send_ack(p, local_id, committed);
    answer_in_turn(p);
}

static void on_nack(void *publisher, ensign_slice_t local_id)
{
    call_t *c = publisher;
    publisher_t *p = c->state;

    if (!p) return;
    p->answered++;
    log_line("%s: nack INTERNAL: the event could not be stored", c->peer);
    send_nack(p, local_id, MSG_NACK_CODE_INTERNAL, nack_text(MSG_NACK_CODE_INTERNAL));
    answer_in_turn(p);
}

/* A subscriber that does not keep up loses events, as it does with the real service. */
static void on_deliver(void *subscriber, ensign_slice_t frame)
{
    call_t *c = subscriber;
    subscriber_t *sub = c->state;

    if (!sub) return;
    if (call_is_full(c)) {
        if (sub->dropped++ == 0) log_line("%s: a subscriber does not keep up and loses events", c->peer);
        return;
    }
    if (!call_counts(c)) return;
    call_send_framed(c, frame);
    sub->delivered++;
}

const broker_hooks_t stream_hooks = { on_ack, on_nack, on_deliver };

/* ---- Subscribe */

void subscribe_open(service_t *s, call_t *c)
{
    if (!may_open(s, c)) return;
    c->state = x_alloc(sizeof(subscriber_t));
    c->out_max = s->subscriber_queue;
}

void subscribe_closed(service_t *s, call_t *c)
{
    subscriber_t *sub = c->state;
    (void)s;

    if (!sub) return;
    c->state = NULL;
    for (size_t i = 0; sub->joined && i < sub->count; i++) broker_unsubscribe(sub->topics[i], c);
    log_line("%s: subscriber gone: %llu events delivered, %llu lost", c->peer,
             (unsigned long long)sub->delivered, (unsigned long long)sub->dropped);
    free(sub->topics);
    free(sub);
}

/* Strict, it joins behind this turn's commit, as the real server has ready sent before it does. */
static void keep_topics(service_t *s, call_t *c, const uint8_t *set, size_t count)
{
    subscriber_t *sub = c->state;

    sub->topics = x_alloc(count * sizeof *sub->topics);
    for (size_t i = 0; i < s->topics->count; i++)
        if (has_bit(set, s->topics->count, i)) sub->topics[sub->count++] = s->topics->all[i];
    if (s->strict) put_call(&s->joining, &s->joining_count, &s->joining_cap, c);
    else join_topics(sub, c);
}

static void subscribe_begin(service_t *s, call_t *c, const msg_subscription_t *request)
{
    subscriber_t *sub = c->state;
    uint8_t *set = x_alloc(s->topics->count / 8 + 1);
    size_t count = choose(s, c, request->topics, MSG_SUBSCRIPTION_TOPICS_TAG, set);
    msg_subscribe_reply_t reply;
    buf_t topics = { NULL, 0, 0, 0 };

    if (count == 0) {
        call_end(c, GRPC_FAILED_PRECONDITION, "no topics available");
        free(set);
        return;
    }
    sub->open = true;
    keep_topics(s, c, set, count);      /* before ready leaves: no event behind it is missed */
    memset(&reply, 0, sizeof reply);
    reply.has_ready = true;
    reply.ready.client_id = request->client_id;
    reply.ready.server_id = slice_text(SERVER_NAME);
    put_ready_topics(&topics, s->topics, set);
    reply.ready.topics.ptr = topics.ptr;
    reply.ready.topics.len = buf_len(&topics);
    send_message(c, MSG_SUBSCRIBE_REPLY, &reply);
    buf_free(&topics);
    free(set);
}

/* Acks and nacks of subscribers change nothing, as with the real service. */
void subscribe_message(service_t *s, call_t *c, ensign_slice_t message)
{
    subscriber_t *sub = c->state;
    msg_subscribe_request_t request;

    if (!msg_decode(MSG_SUBSCRIBE_REQUEST, &request, message))
        call_end(c, GRPC_INTERNAL, TEXT_BAD_MESSAGE);
    else if (!sub->open && !request.has_subscription)
        call_end(c, GRPC_FAILED_PRECONDITION, "must send subscription to initialize stream");
    else if (!sub->open)
        subscribe_begin(s, c, &request.subscription);
}

void subscribe_half_close(service_t *s, call_t *c)
{
    subscriber_t *sub = c->state;
    (void)s;
    if (!sub->open) call_end(c, GRPC_OK, NULL);     /* else events keep flowing until it is cancelled */
}
