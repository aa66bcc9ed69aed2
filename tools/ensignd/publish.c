/* publish.c - the RPC Publish; see service.h
 *
 * Holds  a stream's topics are chosen when it opens: one bit for each topic that there was then. A stream
 *        without a filter takes events for later topics too, unless the server is strict.
 *        Replies leave in the order of the events: what goes through the broker is answered by the broker in
 *        that order, and a nack that was asked for (--nack-every) waits for its turn.
 *        A stream ends behind the answer to its last event, and behind the acks that are held back
 *        (--ack-delay), so its acks always come before close_stream. Strict, it ends at once, and acks that
 *        have not been sent by then are lost, as are those beyond QUEUE_MESSAGES that nobody reads.
 *        A publisher whose call is gone stays until all of its events are answered: the broker knows it.
 *        While the broker is full, no publisher is read: what they send waits under flow control. */
#include "streams.h"
#include "wrapper.h"
#include <stdlib.h>
#include <string.h>

#define EVENT_MAX 5243000u      /* bytes of EventWrapper.event */
#define WRAPPER_GROWTH 64u      /* by numbers that the publisher wrote shorter than nanopb does */
#define KEY_LEAST 16u           /* bytes of a local_id that no other event of its publisher has */
#define OVERSIZE_MAX (2 * MESSAGE_MAX)  /* bytes; a message between the two is nacked, its stream lives */

/* Replies that wait, first in first out: a head, then the frame. `until`: a time, or a count of answers. */
typedef struct waiting_t { int64_t until; size_t len; } waiting_t;

typedef struct publisher_t {
    service_t *service;
    call_t    *call;                            /* NULL: gone */
    bool      open, finishing;
    bool      fixed;                            /* no topic but the allowed ones, whatever is made later */
    int       status;                           /* how it ends, once finishing */
    const char *status_text;
    uint8_t  *allowed, *seen;                   /* bit sets over the topics' indices */
    size_t    bits, seen_bits;
    buf_t     provenance;                       /* field 6 of each event's wrapper, encoded */
    buf_t     identity;                         /* subject and client_id: how the keys of its events begin */
    buf_t     in_turn;                          /* nacks that wait for the answers to earlier events */
    buf_t     late;                             /* replies that wait for their time; one delay for all */
    uint64_t  good, answered;                   /* those to be stored; those that the broker answered */
    uint64_t  events, topics, acks, nacks, lost;
    struct publisher_t *next, **back;
} publisher_t;

void publish_open(service_t *s, call_t *c)
{
    publisher_t *p;

    if (!stream_may_open(s, c)) return;
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

static void publisher_free(publisher_t *p)
{
    *p->back = p->next;
    if (p->next) p->next->back = p->back;
    free(p->allowed);
    free(p->seen);
    buf_free(&p->provenance);
    buf_free(&p->identity);
    buf_free(&p->in_turn);
    buf_free(&p->late);
    free(p);
}

void publish_closed(service_t *s, call_t *c)
{
    publisher_t *p = c->state;

    if (!p) return;
    c->state = NULL;
    c->out_held = 0;
    s->publishing--;
    p->call = NULL;
    if (p->lost) log_line("%s: %llu acks lost, nobody read them", c->peer, (unsigned long long)p->lost);
    if (p->answered == p->events) publisher_free(p);
}

void publishers_free(service_t *s)
{
    while (s->publishers) publisher_free(s->publishers);
}

static void close_publisher(publisher_t *p)
{
    msg_publisher_reply_t reply;

    memset(&reply, 0, sizeof reply);
    reply.has_close_stream = true;
    reply.close_stream.events = p->events;
    reply.close_stream.topics = p->topics;
    reply.close_stream.acks = p->acks;
    reply.close_stream.nacks = p->nacks;
    stream_send(p->call, MSG_PUBLISHER_REPLY, &reply);
    call_end(p->call, p->status, p->status_text);
}

/* All is said that there was to say. */
static bool is_finished(const publisher_t *p)
{
    return p->finishing && p->answered == p->events && buf_len(&p->late) == 0 && !p->call->ended;
}

/* Strict: now. Else it may have to wait for answers. */
static void finish(publisher_t *p, int status, const char *text)
{
    if (p->finishing) return;
    p->finishing = true;
    p->status = status;
    p->status_text = text;
    if (p->service->strict || is_finished(p)) close_publisher(p);
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

static void answer_late(publisher_t *p, int64_t now)
{
    ensign_slice_t frame;

    while (first_waiting(&p->late, now, &frame)) {
        if (counts(p, frame.ptr[5])) call_send_framed(p->call, frame);
        take_waiting(&p->late, frame);
        p->call->out_held--;
    }
    if (is_finished(p)) close_publisher(p);
}

void service_tick(service_t *s, int64_t now)
{
    if (s->faults.ack_delay_ms == 0) return;
    for (publisher_t *p = s->publishers; p; p = p->next)
        if (p->call && buf_len(&p->late)) answer_late(p, now);
}

int64_t service_due(const service_t *s)
{
    int64_t due = 0;
    waiting_t head;

    if (s->faults.ack_delay_ms == 0) return 0;
    for (const publisher_t *p = s->publishers; p; p = p->next) {
        if (!p->call || buf_len(&p->late) == 0) continue;
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

/* Each part with its length, so that no two publishers have the same. */
static void remember_identity(publisher_t *p, const call_t *c, ensign_slice_t client_id)
{
    if (!log_is_shared(p->service->log)) return;
    msg_put_field(&p->identity, 1, slice_text(c->claims.subject));
    msg_put_field(&p->identity, 2, client_id);
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
    if (stream_choose(s, c, open->topics, MSG_OPEN_STREAM_TOPICS_TAG, p->allowed) == 0) {
        call_end(c, GRPC_FAILED_PRECONDITION, "no topics available");
        return;
    }
    p->open = true;
    remember_provenance(p, c, open->client_id);
    remember_identity(p, c, open->client_id);
    memset(&reply, 0, sizeof reply);
    reply.has_ready = true;
    reply.ready.client_id = open->client_id.len ? open->client_id : slice_text(c->claims.subject);
    reply.ready.server_id = slice_text(SERVER_NAME);
    stream_put_topics(&topics, s->topics, p->allowed);
    reply.ready.topics.ptr = topics.ptr;
    reply.ready.topics.len = buf_len(&topics);
    stream_send(c, MSG_PUBLISHER_REPLY, &reply);
    buf_free(&topics);
    if (s->holding) call_hold(c);
}

static buf_t nack_frame(ensign_slice_t local_id, int64_t code, const char *text)
{
    msg_publisher_reply_t m;

    memset(&m, 0, sizeof m);
    m.has_nack = true;
    m.nack.id = local_id;
    m.nack.code = (int32_t)code;
    m.nack.error = slice_text(text);
    return stream_framed(MSG_PUBLISHER_REPLY, &m);
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
    if (!t || bits_has(p->allowed, p->bits, t->index)) return t;
    /* Made later. The client learnt of it elsewhere: ready told what there was. */
    if (p->fixed || t->index < p->bits || t->dead_letters) return NULL;
    return ulid_eq(&t->project, &p->call->claims.project) ? t : NULL;
}

static void see_topic(const service_t *s, publisher_t *p, const topic_t *t)
{
    size_t bits = s->topics->count;

    if (t->index >= p->seen_bits) {
        p->seen = x_realloc(p->seen, bits / 8 + 1);
        memset(p->seen + p->seen_bits / 8 + 1, 0, bits / 8 - p->seen_bits / 8);
        p->seen_bits = bits;
    }
    if (!bits_has(p->seen, p->seen_bits, t->index)) p->topics++;
    bits_set(p->seen, t->index);
}

/* The same for an event that its publisher sends again, through whichever ensignd. Returns its length; 0: a
   local_id that may be used again makes none. */
static size_t make_key(publisher_t *p, const topic_t *t, ensign_slice_t local_id, uint8_t key[LOG_KEY_MOST])
{
    buf_t *b = &p->identity;
    size_t len = buf_len(b);

    if (len == 0 || local_id.len < KEY_LEAST) return 0;
    buf_put(b, t->id.b, sizeof t->id.b);
    buf_put(b, local_id.ptr, local_id.len);
    sha256(buf_bytes(b), key);
    b->end = b->start + len;            /* as it was, for the next one */
    return LOG_KEY_MOST;
}

/* Writes the event as the log wants it. False: it could not be encoded. */
static bool accept_event(service_t *s, call_t *c, const topic_t *t, msg_event_wrapper_t *w, size_t size)
{
    publisher_t *p = c->state;
    size_t cap = size + WRAPPER_GROWTH, n, key_len;
    ensign_slice_t local_id = w->local_id, provenance = buf_bytes(&p->provenance);
    /* That of the claims: a topic that is gone is of no project any more. */
    uint8_t *value = broker_room(s->broker, &c->claims.project,
                                 cap + provenance.len + local_id.len + LOG_KEY_MOST);
    uint8_t *end;

    w->id.len = w->local_id.len = w->duplicate_id.len = 0;
    w->offset = w->epoch = 0;
    w->has_publisher = w->has_committed = w->is_duplicate = false;
    if (!msg_encode(MSG_EVENT_WRAPPER, w, value, cap, &n)) return false;
    end = value + n;
    memcpy(end, provenance.ptr, provenance.len);
    if (local_id.len) memcpy(end + provenance.len, local_id.ptr, local_id.len);
    key_len = make_key(p, t, local_id, end + provenance.len + local_id.len);
    broker_put(s->broker, p, &t->id, n + provenance.len, local_id.len, key_len);
    return true;
}

/* The broker is full: what publishers send waits until it has room. */
static void hold_publishers(service_t *s)
{
    s->holding = true;
    log_line("publishers wait: the log is behind");
    for (publisher_t *p = s->publishers; p; p = p->next)
        if (p->call && p->open) call_hold(p->call);
}

void publishers_resume(service_t *s)
{
    if (!s->holding || broker_full(s->broker)) return;
    s->holding = false;
    for (publisher_t *p = s->publishers; p; p = p->next)
        if (p->call) call_resume(p->call);
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
        if (!s->holding && broker_full(s->broker)) hold_publishers(s);
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
        finish(p, GRPC_ABORTED, "cannot send multiple open stream messages");
    else
        finish(p, GRPC_FAILED_PRECONDITION, "unhandled publisher request message <nil>");
}

void publish_half_close(service_t *s, call_t *c)
{
    publisher_t *p = c->state;
    (void)s;

    if (p->open) finish(p, GRPC_OK, NULL);
    else call_end(c, GRPC_OK, NULL);
}

void publish_deadline(service_t *s, call_t *c)
{
    publisher_t *p = c->state;
    (void)s;

    if (p->open) finish(p, GRPC_ABORTED, "could not recv event from client");
    else call_end(c, GRPC_DEADLINE_EXCEEDED, TEXT_DEADLINE);
}

void publish_stop(service_t *s, call_t *c)
{
    publisher_t *p = c->state;
    (void)s;

    if (p->open) finish(p, GRPC_UNAVAILABLE, TEXT_STOPPING);
    else call_end(c, GRPC_UNAVAILABLE, TEXT_STOPPING);
}

/* ---- what the broker says */

/* PublisherReply { ack { id, committed } }, straight into the call's queue where nothing holds it back. */
static void send_ack(publisher_t *p, ensign_slice_t local_id, stamp_t committed)
{
    bool late = p->service->faults.ack_delay_ms != 0;
    size_t stamp = stamp_size(committed);
    size_t inner = (local_id.len ? msg_bytes_size(MSG_ACK_ID_TAG, local_id.len) : 0) + stamp;
    size_t body = msg_bytes_size(MSG_PUBLISHER_REPLY_ACK_TAG, inner);
    buf_t b = { NULL, 0, 0, 0 };
    uint8_t *frame = late ? buf_room(&b, 5 + body) : call_room(p->call, 5 + body), *at = frame;

    if (!frame) return;
    stream_put_prefix(at, body);
    at[5] = tag_ack;
    at = msg_put_varint(at + 6, inner);
    if (local_id.len) at = msg_put_bytes(at, MSG_ACK_ID_TAG, local_id);
    stamp_write(at, MSG_ACK_COMMITTED_TAG, committed);
    if (late) answer(p, slice_of(frame, 5 + body));
    else if (counts(p, tag_ack)) call_sent(p->call, 5 + body);
    buf_free(&b);
}

/* Behind each answer. */
static void go_on(publisher_t *p)
{
    answer_in_turn(p);
    if (is_finished(p)) close_publisher(p);
}

/* Counts an answer. False: the call is gone, and with its last answer the publisher is, too. */
static bool is_there(publisher_t *p)
{
    p->answered++;
    if (p->call) return true;
    if (p->answered == p->events) publisher_free(p);
    return false;
}

static void on_ack(void *publisher, ensign_slice_t local_id, stamp_t committed)
{
    publisher_t *p = publisher;

    if (!is_there(p)) return;
    if (p->service->strict && p->call->out_messages + p->call->out_held >= QUEUE_MESSAGES) p->lost++;
    else send_ack(p, local_id, committed);
    go_on(p);
}

static void on_nack(void *publisher, ensign_slice_t local_id)
{
    int64_t code = MSG_NACK_CODE_CONSENSUS_FAILURE;
    publisher_t *p = publisher;

    if (!is_there(p)) return;
    log_line("%s: nack %s: the event could not be stored", p->call->peer, nack_name(code));
    send_nack(p, local_id, code, nack_text(code));
    go_on(p);
}

const broker_hooks_t publish_hooks = { on_ack, on_nack };
