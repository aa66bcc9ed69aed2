/* streams.c - Publish and Subscribe; see service.h
 *
 * Holds  a stream's topics are fixed when it opens: one bit for each topic that there was then.
 *        An event's frame is written once, into the broker's arena, and copied to each subscriber from there.
 *        A publish stream ends behind the commit of its last event, so its acks always come before
 *        close_stream. */
#include "messages.h"
#include "service.h"
#include <stdlib.h>

#define EVENT_MAX 5243000u      /* bytes of EventWrapper.event */
#define FRAME_HEAD 11u          /* gRPC prefix, tag and at most five bytes of length, in front of a wrapper */
#define WRAPPER_GROWTH 64u /* by the id, and by numbers that the publisher wrote shorter than nanopb does */
#define COMMITTED_MAX 32u

typedef struct publisher_t {
    bool      open, finishing;
    int       status;                           /* how it ends, once finishing */
    const char *status_text;
    uint8_t  *allowed, *seen;                   /* bit sets over the topics' indices */
    size_t    bits;
    buf_t     provenance;                       /* field 6 of each event's wrapper, encoded */
    uint64_t  events, topics, acks, nacks;
} publisher_t;

typedef struct subscriber_t {
    bool      open;
    topic_t **topics;
    size_t    count;
    uint64_t  delivered, dropped;
} subscriber_t;

static ensign_slice_t slice(const void *p, size_t n)
{
    ensign_slice_t s;
    s.ptr = p;
    s.len = n;
    return s;
}

static ensign_slice_t text_slice(const char *s)
{
    return slice(s, s ? strlen(s) : 0);
}

static bytes_t view(ensign_slice_t s)
{
    return bytes_of(s.ptr, s.len);
}

static void put_field(buf_t *b, uint32_t tag, ensign_slice_t value)
{
    size_t n = ensi_pb_bytes_size(tag, value.len);
    ensi_pb_put_bytes(buf_room(b, n), tag, value);
    b->end += n;
}

static void send_message(call_t *c, const pb_msgdesc_t *fields, const void *message)
{
    buf_t b = { NULL, 0, 0, 0 };
    size_t n, written = 0;

    if (ensi_pb_size(fields, message, &n) && ensi_pb_encode(fields, message, buf_room(&b, n), n, &written)) {
        b.end += written;
        call_send(c, buf_bytes(&b));
    }
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
static size_t choose(const service_t *s, const call_t *c, ensi_pb_span_t filter, uint32_t tag, uint8_t *set)
{
    const topics_t *all = s->topics;
    ensign_slice_t text;
    size_t at = 0, n = 0;

    if (filter.len == 0) {
        for (size_t i = 0; i < all->count; i++)
            if (ulid_eq(&all->all[i]->project, &c->claims.project)) set_bit(set, i);
    }
    while (ensi_pb_span_next(filter, tag, &at, &text)) {
        topic_t *t = topics_lookup(all, &c->claims.project, view(text));
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
        put_field(&entry, 1, text_slice(t->name));
        put_field(&entry, 2, slice(t->id.b, sizeof t->id.b));
        put_field(out, ENSI_PB_STREAM_READY_TOPICS_TAG, slice(entry.ptr, buf_len(&entry)));
    }
    buf_free(&entry);
}

/* ---- Publish */

void publish_open(service_t *s, call_t *c)
{
    if (!may_open(s, c)) return;
    c->state = x_alloc(sizeof(publisher_t));
    s->publishing++;
}

void publish_closed(service_t *s, call_t *c)
{
    publisher_t *p = c->state;

    if (!p) return;
    c->state = NULL;
    s->publishing--;
    free(p->allowed);
    free(p->seen);
    buf_free(&p->provenance);
    free(p);
}

/* Not now: events of this turn may still wait for their acks. */
static void finish(service_t *s, call_t *c, int status, const char *text)
{
    publisher_t *p = c->state;

    if (p->finishing) return;
    p->finishing = true;
    p->status = status;
    p->status_text = text;
    if (s->finishing_count == s->finishing_cap) {
        s->finishing_cap = s->finishing_cap ? 2 * s->finishing_cap : 16;
        s->finishing = x_realloc(s->finishing, s->finishing_cap * sizeof *s->finishing);
    }
    s->finishing[s->finishing_count++] = c;
}

void service_after_commit(service_t *s)
{
    for (size_t i = 0; i < s->finishing_count; i++) {
        call_t *c = s->finishing[i];
        publisher_t *p = c->state;
        ensi_pb_publisher_reply_t reply;

        if (!p) continue;       /* closed meanwhile */
        memset(&reply, 0, sizeof reply);
        reply.has_close_stream = true;
        reply.close_stream.events = p->events;
        reply.close_stream.topics = p->topics;
        reply.close_stream.acks = p->acks;
        reply.close_stream.nacks = p->nacks;
        send_message(c, ensi_pb_publisher_reply_fields, &reply);
        call_end(c, p->status, p->status_text);
    }
    s->finishing_count = 0;
}

static void remember_provenance(publisher_t *p, const call_t *c, ensign_slice_t client_id)
{
    buf_t b = { NULL, 0, 0, 0 };
    ensign_slice_t parts[4];

    parts[0] = text_slice(c->claims.subject);
    parts[1] = text_slice(c->peer);
    parts[2] = client_id;
    parts[3] = text_slice(c->user_agent);
    for (uint32_t i = 0; i < 4; i++)
        if (parts[i].len) put_field(&b, i + 1, parts[i]);
    put_field(&p->provenance, ENSI_PB_EVENT_WRAPPER_PUBLISHER_TAG, slice(b.ptr, buf_len(&b)));
    buf_free(&b);
}

static void publish_begin(service_t *s, call_t *c, const ensi_pb_open_stream_t *open)
{
    publisher_t *p = c->state;
    ensi_pb_publisher_reply_t reply;
    buf_t topics = { NULL, 0, 0, 0 };

    p->bits = s->topics->count;
    p->allowed = x_alloc(p->bits / 8 + 1);
    p->seen = x_alloc(p->bits / 8 + 1);
    if (choose(s, c, open->topics, ENSI_PB_OPEN_STREAM_TOPICS_TAG, p->allowed) == 0) {
        call_end(c, GRPC_FAILED_PRECONDITION, "no topics available");
        return;
    }
    p->open = true;
    remember_provenance(p, c, open->client_id);
    memset(&reply, 0, sizeof reply);
    reply.has_ready = true;
    reply.ready.client_id = open->client_id.len ? open->client_id : text_slice(c->claims.subject);
    reply.ready.server_id = text_slice(SERVER_NAME);
    put_ready_topics(&topics, s->topics, p->allowed);
    reply.ready.topics.ptr = topics.ptr;
    reply.ready.topics.len = buf_len(&topics);
    send_message(c, ensi_pb_publisher_reply_fields, &reply);
    buf_free(&topics);
}

static void send_nack(call_t *c, bytes_t local_id, int32_t code, const char *text)
{
    publisher_t *p = c->state;
    ensi_pb_publisher_reply_t reply;

    memset(&reply, 0, sizeof reply);
    reply.has_nack = true;
    reply.nack.id = slice(local_id.ptr, local_id.len);
    reply.nack.code = code;
    reply.nack.error = text_slice(text);
    send_message(c, ensi_pb_publisher_reply_fields, &reply);
    p->nacks++;
}

/* The topic of an event, or NULL and why not. */
static topic_t *event_topic(const service_t *s, const publisher_t *p, ensign_slice_t id, const char **fault)
{
    topic_t *t;
    ulid_t ulid;

    *fault = "no topic id specified";
    if (id.len == 0) return NULL;
    *fault = "invalid topic id";
    if (!ulid_from(view(id), &ulid)) return NULL;
    *fault = "topic unknown or unhandled";
    t = topics_by_id(s->topics, &ulid);
    return t && has_bit(p->allowed, p->bits, t->index) ? t : NULL;
}

static size_t timestamp_size(stamp_t t)
{
    return (t.seconds ? 1 + ensi_pb_varint_size((uint64_t)t.seconds) : 0) +
           (t.nanos ? 1 + ensi_pb_varint_size((uint64_t)t.nanos) : 0);
}

/* A Timestamp as field `tag`, below 16. By hand: it is written twice for each event. */
static uint8_t *put_timestamp(uint8_t *p, uint32_t tag, stamp_t t)
{
    *p++ = (uint8_t)(tag << 3 | PB_WT_STRING);
    *p++ = (uint8_t)timestamp_size(t);
    if (t.seconds) {
        *p++ = 1 << 3;
        p = ensi_pb_put_varint(p, (uint64_t)t.seconds);
    }
    if (t.nanos) {
        *p++ = 2 << 3;
        p = ensi_pb_put_varint(p, (uint64_t)t.nanos);
    }
    return p;
}

static void put_be32(uint8_t *p, size_t n)
{
    for (unsigned i = 0; i < 4; i++) p[i] = (uint8_t)(n >> (24 - 8 * i) & 0xff);
}

/* In front of the wrapper at `w`: prefix, tag and length of a SubscribeReply. Returns how many bytes. */
static size_t put_frame_head(uint8_t *w, size_t wrapper_len)
{
    size_t length = ensi_pb_varint_size(wrapper_len), n = 5 + 1 + length;
    uint8_t *p = w - n;

    p[0] = 0;
    put_be32(p + 1, 1 + length + wrapper_len);
    p[5] = ENSI_PB_SUBSCRIBE_REPLY_EVENT_TAG << 3 | PB_WT_STRING;
    ensi_pb_put_varint(p + 6, wrapper_len);
    return n;
}

/* Writes the event as it is stored and delivered. False: it could not be encoded. */
static bool accept_event(service_t *s, call_t *c, topic_t *t, ensi_pb_event_wrapper_t *w, size_t size)
{
    publisher_t *p = c->state;
    size_t cap = size + WRAPPER_GROWTH, tail = buf_len(&p->provenance) + COMMITTED_MAX, at, n, head;
    ensign_slice_t local_id = w->local_id;
    uint8_t *base = broker_room(s->broker, FRAME_HEAD + cap + tail + local_id.len, &at);
    uint8_t *wrapper = base + FRAME_HEAD, *end;
    broker_event_t e;
    stamp_t committed;

    broker_next(s->broker, &e.id, &committed);
    w->id = slice(e.id.b, sizeof e.id.b);
    w->local_id.len = 0;
    w->has_publisher = w->has_committed = false;
    if (!ensi_pb_encode(ensi_pb_event_wrapper_fields, w, wrapper, cap, &n)) return false;
    end = wrapper + n;
    memcpy(end, p->provenance.ptr, buf_len(&p->provenance));
    end = put_timestamp(end + buf_len(&p->provenance), ENSI_PB_EVENT_WRAPPER_COMMITTED_TAG, committed);
    e.publisher = c;
    e.topic = t;
    e.wrapper = at + FRAME_HEAD;
    e.wrapper_len = (size_t)(end - wrapper);
    head = put_frame_head(wrapper, e.wrapper_len);
    e.frame = e.wrapper - head;
    e.frame_len = e.wrapper_len + head;
    e.local_id = e.wrapper + e.wrapper_len;
    e.local_id_len = local_id.len;
    if (local_id.len) memcpy(end, local_id.ptr, local_id.len);
    broker_put(s->broker, &e, e.local_id + e.local_id_len);
    return true;
}

static void publish_event(service_t *s, call_t *c, ensi_pb_event_wrapper_t *w, size_t size)
{
    publisher_t *p = c->state;
    const char *fault;
    topic_t *t = event_topic(s, p, w->topic_id, &fault);

    if (!t) {
        send_nack(c, view(w->local_id), ENSI_PB_NACK_CODE_TOPIC_UNKNOWN, fault);
    } else if (t->deleting && !s->strict) {
        send_nack(c, view(w->local_id), ENSI_PB_NACK_CODE_TOPIC_DELETED, "topic is currently being deleted");
    } else if (t->readonly && !s->strict) {
        send_nack(c, view(w->local_id), ENSI_PB_NACK_CODE_TOPIC_ARCHIVED,
                  "cannot publish to an archived topic");
    } else if (w->event.len > EVENT_MAX) {
        send_nack(c, view(w->local_id), ENSI_PB_NACK_CODE_MAX_EVENT_SIZE_EXCEEDED,
                  "maximum event size has been exceeded");
    } else if (!accept_event(s, c, t, w, size)) {
        send_nack(c, view(w->local_id), ENSI_PB_NACK_CODE_INTERNAL,
                  "internal error, please wait and try again");
    } else {
        p->events++;
        if (!has_bit(p->seen, p->bits, t->index)) p->topics++;
        set_bit(p->seen, t->index);
    }
}

void publish_message(service_t *s, call_t *c, bytes_t message)
{
    publisher_t *p = c->state;
    ensi_pb_publisher_request_t request;

    if (p->finishing) return;
    if (!ensi_pb_decode(ensi_pb_publisher_request_fields, &request, message.ptr, message.len))
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

/* PublisherReply { ack { id, committed } }, straight into the call's queue. */
static void on_ack(void *publisher, bytes_t local_id, stamp_t committed)
{
    call_t *c = publisher;
    publisher_t *p = c->state;
    size_t stamp = 2 + timestamp_size(committed);
    size_t inner = (local_id.len ? ensi_pb_bytes_size(ENSI_PB_ACK_ID_TAG, local_id.len) : 0) + stamp;
    size_t body = ensi_pb_bytes_size(ENSI_PB_PUBLISHER_REPLY_ACK_TAG, inner);
    uint8_t *at = p ? call_room(c, 5 + body) : NULL;

    if (!at) return;
    at[0] = 0;
    put_be32(at + 1, body);
    at[5] = ENSI_PB_PUBLISHER_REPLY_ACK_TAG << 3 | PB_WT_STRING;
    at = ensi_pb_put_varint(at + 6, inner);
    if (local_id.len) at = ensi_pb_put_bytes(at, ENSI_PB_ACK_ID_TAG, slice(local_id.ptr, local_id.len));
    put_timestamp(at, ENSI_PB_ACK_COMMITTED_TAG, committed);
    call_sent(c, 5 + body);
    p->acks++;
}

static void on_nack(void *publisher, bytes_t local_id)
{
    call_t *c = publisher;
    if (c->state)
        send_nack(c, local_id, ENSI_PB_NACK_CODE_INTERNAL, "internal error, please wait and try again");
}

/* A subscriber that does not keep up loses events, as it does with the real service. */
static void on_deliver(void *subscriber, bytes_t frame)
{
    call_t *c = subscriber;
    subscriber_t *sub = c->state;

    if (!sub) return;
    if (call_is_full(c)) {
        if (sub->dropped++ == 0) log_line("%s: a subscriber does not keep up and loses events", c->peer);
        return;
    }
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
    for (size_t i = 0; i < sub->count; i++) broker_unsubscribe(sub->topics[i], c);
    log_line("%s: subscriber gone: %llu events delivered, %llu lost", c->peer,
             (unsigned long long)sub->delivered, (unsigned long long)sub->dropped);
    free(sub->topics);
    free(sub);
}

static void join_topics(service_t *s, call_t *c, const uint8_t *set, size_t count)
{
    subscriber_t *sub = c->state;

    sub->topics = x_alloc(count * sizeof *sub->topics);
    for (size_t i = 0; i < s->topics->count; i++) {
        if (!has_bit(set, s->topics->count, i)) continue;
        sub->topics[sub->count++] = s->topics->all[i];
        broker_subscribe(s->topics->all[i], c);
    }
}

static void subscribe_begin(service_t *s, call_t *c, const ensi_pb_subscription_t *request)
{
    subscriber_t *sub = c->state;
    uint8_t *set = x_alloc(s->topics->count / 8 + 1);
    size_t count = choose(s, c, request->topics, ENSI_PB_SUBSCRIPTION_TOPICS_TAG, set);
    ensi_pb_subscribe_reply_t reply;
    buf_t topics = { NULL, 0, 0, 0 };

    if (count == 0) {
        call_end(c, GRPC_FAILED_PRECONDITION, "no topics available");
        free(set);
        return;
    }
    sub->open = true;
    join_topics(s, c, set, count);      /* before ready leaves: no event behind it is missed */
    memset(&reply, 0, sizeof reply);
    reply.has_ready = true;
    reply.ready.client_id = request->client_id;
    reply.ready.server_id = text_slice(SERVER_NAME);
    put_ready_topics(&topics, s->topics, set);
    reply.ready.topics.ptr = topics.ptr;
    reply.ready.topics.len = buf_len(&topics);
    send_message(c, ensi_pb_subscribe_reply_fields, &reply);
    buf_free(&topics);
    free(set);
}

/* Acks and nacks of subscribers change nothing, as with the real service. */
void subscribe_message(service_t *s, call_t *c, bytes_t message)
{
    subscriber_t *sub = c->state;
    ensi_pb_subscribe_request_t request;

    if (!ensi_pb_decode(ensi_pb_subscribe_request_fields, &request, message.ptr, message.len))
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
