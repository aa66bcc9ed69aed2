/* subscribe.c - the RPC Subscribe; see service.h
 *
 * Holds  a stream's topics are chosen when it opens. Its reader (feed.h) gives it their events.
 *        Live events wait in the call's queue, --subscriber-queue of them at most. When that is full, the
 *        reader falls behind, and more is read from the log as the client takes what is queued: at most
 *        QUEUE_LOW bytes and a page of the log.
 *        Strict, a reader takes all, and what finds no room in the queue is lost.
 *        The header ensign-place tells where the stream begins: the epoch of the log, and the offset behind
 *        which its events stand, in topics for which the client has named no offset (topic_offsets).
 * Moves  subscription -> the place of its OFFSET is looked for, if it has one -> ready -> events. */
#include "feed.h"
#include "filter.h"
#include "group_stream.h"
#include "streams.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_LOW 32768u        /* bytes; below it, the queue is filled again */

typedef struct subscriber_t {
    service_t *service;
    call_t    *call;
    bool      open;
    group_stream_t *group;              /* NULL: it is no member of one; else that gives it its events */
    reader_t  reader;
    topic_t **topics;                   /* strict: until it joins; else the reader's */
    size_t    count;
    select_t  select;                   /* empty: all events */
    buf_t     ready;                    /* the frame, until it is sent */
    uint64_t  begins;                   /* the offset of the header */
    size_t    work;
    uint64_t  delivered, dropped;
} subscriber_t;

/* ---- events */

static bool is_chosen(subscriber_t *sub, const log_event_t *e)
{
    const char *refused = NULL;
    bool chosen = filter_takes(&sub->select, e, reader_epoch(&sub->reader), &sub->work, &refused);

    if (refused) log_line("%s: an event is left out: %s", sub->call->peer, refused);
    return chosen;
}

/* Strict, it loses events when it does not keep up, as with the real service. */
static bool drop(subscriber_t *sub)
{
    if (!sub->service->strict) return false;
    if (sub->dropped++ == 0) log_line("%s: a subscriber does not keep up and loses events", sub->call->peer);
    return true;
}

static bool on_take(reader_t *r, const log_event_t *e)
{
    subscriber_t *sub = r->user;

    if (call_is_full(sub->call)) return drop(sub);
    if (sub->work >= FILTER_WORK) return false;
    if (!is_chosen(sub, e) || !call_counts(sub->call)) return true;
    call_send_framed(sub->call, reader_frame(r, e));
    sub->delivered++;
    return true;
}

/* When half of what is queued has been taken, there is room for more. */
static void on_behind(reader_t *r)
{
    subscriber_t *sub = r->user;
    size_t half = buf_len(&sub->call->out) / 2 + 1;

    sub->work = 0;
    sub->call->refill_below = half < QUEUE_LOW ? half : QUEUE_LOW;
}

static void refill(void *user, call_t *c)
{
    subscriber_t *sub = c->state;
    size_t room = c->out_messages < c->out_max ? c->out_max - c->out_messages : 1;
    (void)user;

    c->refill_below = 0;                /* until the log has answered */
    reader_more(&sub->reader, room);
}

static void say_ready(subscriber_t *sub)
{
    char place[64];

    if (!sub->service->strict) {
        snprintf(place, sizeof place, "%" PRIu64 " %" PRIu64, reader_epoch(&sub->reader), sub->begins);
        call_set_header(sub->call, "ensign-place", place);
    }
    call_send_framed(sub->call, buf_bytes(&sub->ready));
    buf_free(&sub->ready);
}

static void on_found(reader_t *r)
{
    subscriber_t *sub = r->user;

    sub->begins = r->place;
    say_ready(sub);
    reader_start(r);
}

static const reader_hooks_t reader_hooks = { on_take, on_behind, on_found };

/* ---- life */

void subscribe_open(service_t *s, call_t *c)
{
    subscriber_t *sub;

    if (!stream_may_open(s, c)) return;
    sub = c->state = x_alloc(sizeof *sub);
    sub->service = s;
    sub->call = c;
    sub->reader.hooks = &reader_hooks;
    sub->reader.user = sub;
    c->out_max = s->subscriber_queue;
    c->refill = refill;
}

void subscribe_closed(service_t *s, call_t *c)
{
    subscriber_t *sub = c->state;
    (void)s;

    if (!sub) return;
    c->state = NULL;
    log_line("%s: subscriber gone: %llu events delivered, %llu lost", c->peer,
             (unsigned long long)sub->delivered, (unsigned long long)sub->dropped);
    if (sub->group) group_stream_close(sub->group);
    reader_close(&sub->reader);
    select_free(&sub->select);
    buf_free(&sub->ready);
    free(sub->topics);
    free(sub);
}

static void open_reader(subscriber_t *sub)
{
    reader_open(&sub->reader, &sub->service->feeds, &sub->call->claims.project, sub->topics, sub->count);
    sub->topics = NULL;
}

static void put_joining(service_t *s, call_t *c)
{
    if (s->joining_count == s->joining_cap) {
        s->joining_cap = s->joining_cap ? 2 * s->joining_cap : 16;
        s->joining = x_realloc(s->joining, s->joining_cap * sizeof *s->joining);
    }
    s->joining[s->joining_count++] = c;
}

void subscribers_join(service_t *s)
{
    for (size_t i = 0; i < s->joining_count; i++) {
        subscriber_t *sub = s->joining[i]->state;
        if (!sub) continue;
        open_reader(sub);
        reader_start(&sub->reader);
    }
    s->joining_count = 0;
}

/* ---- the subscription */

static void keep_topics(subscriber_t *sub, const topics_t *all, const uint8_t *set, size_t count)
{
    sub->topics = x_alloc(count * sizeof *sub->topics);
    for (size_t i = 0; i < all->count; i++)
        if (bits_has(set, all->count, i)) sub->topics[sub->count++] = all->all[i];
}

static void make_ready(subscriber_t *sub, const msg_subscription_t *request, const uint8_t *set)
{
    msg_subscribe_reply_t reply;
    buf_t topics = { NULL, 0, 0, 0 };

    memset(&reply, 0, sizeof reply);
    reply.has_ready = true;
    reply.ready.client_id = request->client_id;
    reply.ready.server_id = slice_text(SERVER_NAME);
    stream_put_topics(&topics, sub->service->topics, set);
    reply.ready.topics = buf_bytes(&topics);
    sub->ready = stream_framed(MSG_SUBSCRIBE_REPLY, &reply);
    buf_free(&topics);
}

static bool declined(call_t *c, const char *text)
{
    call_end(c, GRPC_INVALID_ARGUMENT, text);
    return false;
}

/* Leaves the topic of the query alone in `set`. False: the call has its status. */
static bool read_query(subscriber_t *sub, const msg_query_t *q, uint8_t *set, size_t *count)
{
    const topics_t *all = sub->service->topics;
    const topic_t *t;
    ensql_text_t error;

    if (!query_is_read(q)) {
        call_end(sub->call, GRPC_INTERNAL, TEXT_BAD_MESSAGE);
        return false;
    }
    if (!select_parse(q->query, q->params, &sub->select, &error)) return declined(sub->call, error.text);
    if (sub->select.query.has_limit)
        return declined(sub->call, "a subscription goes on without an end: leave LIMIT out of its query");
    if (!sub->select.query.all)
        return declined(sub->call, "a subscription gives whole events: write SELECT * in its query");
    t = topics_by_name(all, &sub->call->claims.project, sub->select.query.topic);
    if (!t || !bits_has(set, all->count, t->index))
        return declined(sub->call, "the topic of the query is not one of the subscription's topics");
    memset(set, 0, all->count / 8 + 1);
    bits_set(set, t->index);
    *count = 1;
    return true;
}

/* Topics that the subscription does not have are passed over. */
static void set_places(subscriber_t *sub, ensign_slice_t offsets)
{
    msg_consumer_group_topic_offsets_entry_t entry;
    ensign_slice_t item;
    size_t at = 0;

    while (msg_next(offsets, MSG_CONSUMER_GROUP_TOPIC_OFFSETS_TAG, &at, &item)) {
        const topic_t *t = NULL;
        if (msg_decode(MSG_CONSUMER_GROUP_TOPIC_OFFSETS_ENTRY, &entry, item))
            t = topics_by_name(sub->service->topics, &sub->call->claims.project, entry.key);
        if (t) reader_set(&sub->reader, t, entry.value);
    }
}

/* Before ready leaves: no event behind it is missed. Strict, it joins behind this turn's commit, as the real
   server has ready sent before it does. */
static void begin(subscriber_t *sub, const msg_subscription_t *request)
{
    ensign_slice_t offsets = request->group.topic_offsets;

    if (sub->service->strict) {
        say_ready(sub);
        put_joining(sub->service, sub->call);
        return;
    }
    if (group_is_asked(request)) {
        sub->group = group_stream_open(sub->service, sub->call, request, sub->topics, sub->count, sub->ready,
                                       &sub->select);
        memset(&sub->ready, 0, sizeof sub->ready);
        return;
    }
    open_reader(sub);
    sub->begins = sub->reader.place;
    if (offsets.len == 0 && sub->select.query.has_offset) {
        reader_find(&sub->reader, sub->select.query.offset);
        return;
    }
    set_places(sub, offsets);
    say_ready(sub);
    reader_start(&sub->reader);
}

static void subscribe_begin(service_t *s, call_t *c, const msg_subscription_t *request)
{
    subscriber_t *sub = c->state;
    uint8_t *set = x_alloc(s->topics->count / 8 + 1);
    size_t count = stream_choose(s, c, request->topics, MSG_SUBSCRIPTION_TOPICS_TAG, set);
    bool queried = !s->strict && request->has_query && request->query.query.len;

    if (count == 0) call_end(c, GRPC_FAILED_PRECONDITION, "no topics available");
    if (count && (!queried || read_query(sub, &request->query, set, &count))) {
        sub->open = true;
        keep_topics(sub, s->topics, set, count);
        make_ready(sub, request, set);
        begin(sub, request);
    }
    free(set);
}

/* Acks and nacks change nothing outside of a group, as with the real service. */
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
    else if (sub->group)
        group_stream_message(sub->group, &request);
}

void subscribe_half_close(service_t *s, call_t *c)
{
    subscriber_t *sub = c->state;
    (void)s;
    if (!sub->open) call_end(c, GRPC_OK, NULL);     /* else events keep flowing until it is cancelled */
}
