/* group_stream.c - see group_stream.h */
#include "group_stream.h"
#include "dead_letter.h"
#include "streams.h"
#include "../common/utf8.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MOST 512                   /* bytes of a group's name */
#define TIMEOUT_MOST_MS 86400000        /* a day */
#define QUEUE_EVENTS 256                /* that wait for the connection, or */
#define QUEUE_BYTES 262144u

enum { DELIVERY_UNSPECIFIED, DELIVERY_AT_MOST_ONCE, DELIVERY_AT_LEAST_ONCE, DELIVERY_EXACTLY_ONCE };

struct group_stream_t {
    service_t *service;
    call_t    *call;
    member_t  *member;
    uint64_t   epoch;
    buf_t      ready, frame;
    uint64_t   delivered;
};

/* ---- what the group asks of it */

static void on_begin(void *member)
{
    group_stream_t *g = member;
    log_t *log = g->service->log;
    const ulid_t *project = &g->call->claims.project;
    char place[64];

    g->epoch = log_epoch(log, project);
    snprintf(place, sizeof place, "%" PRIu64 " %" PRIu64, g->epoch, log_last(log, project));
    call_set_header(g->call, "ensign-place", place);
    call_send_framed(g->call, buf_bytes(&g->ready));
    buf_free(&g->ready);
}

static bool on_room(const void *member)
{
    const call_t *c = ((const group_stream_t *)member)->call;

    return c->conn && !c->ended && !c->closed && !call_is_full(c) && c->out_messages < QUEUE_EVENTS &&
           buf_len(&c->out) < QUEUE_BYTES;
}

static size_t on_queued(const void *member)
{
    return ((const group_stream_t *)member)->call->out_messages;
}

static void on_deliver(void *member, const log_event_t *e)
{
    group_stream_t *g = member;

    if (!call_counts(g->call)) return;  /* its connection is about to be cut */
    g->frame.start = g->frame.end = 0;
    stream_put_event(&g->frame, e, g->epoch);
    call_send_framed(g->call, buf_bytes(&g->frame));
    if (g->frame.cap > QUEUE_BYTES) buf_free(&g->frame);
    g->delivered++;
}

void groups_start(service_t *s, const group_rules_t *rules)
{
    static const group_hooks_t hooks = { on_begin, on_room, on_queued, on_deliver, dead_letter_bury };
    s->groups = groups_open(s->log, rules, &hooks, s);
}

/* ---- the subscription */

bool group_is_asked(const msg_subscription_t *request)
{
    return request->has_group && (request->group.id.len || request->group.name.len);
}

static bool refused(call_t *c, const char *text)
{
    call_end(c, GRPC_INVALID_ARGUMENT, text);
    return false;
}

static bool read_delivery(call_t *c, int32_t delivery, group_delivery_t *out)
{
    switch (delivery) {
    case DELIVERY_AT_MOST_ONCE:
        *out = GROUP_AT_MOST_ONCE;
        return true;
    case DELIVERY_UNSPECIFIED:
    case DELIVERY_AT_LEAST_ONCE:
        *out = GROUP_AT_LEAST_ONCE;
        return true;
    case DELIVERY_EXACTLY_ONCE:
        return refused(c, "a group cannot deliver EXACTLY_ONCE; ask for AT_LEAST_ONCE, and leave out in the "
                          "member what it has handled before");
    default:
        return refused(c, "unknown delivery of the group; ask for AT_LEAST_ONCE or AT_MOST_ONCE");
    }
}

/* In ms, a part of one counts as one. */
static bool read_timeout(call_t *c, const msg_consumer_group_t *g, int64_t *ms)
{
    const msg_duration_t *d = &g->delivery_timeout;
    bool good = d->seconds >= 0 && d->seconds <= TIMEOUT_MOST_MS / 1000 && d->nanos >= 0 &&
                d->nanos <= 999999999;

    *ms = 0;
    if (!g->has_delivery_timeout) return true;
    if (good) *ms = d->seconds * 1000 + (d->nanos + 999999) / 1000000;
    return (good && *ms <= TIMEOUT_MOST_MS) ||
           refused(c, "the delivery timeout of a group is at most 24 hours");
}

static bool read_wish(call_t *c, const msg_subscription_t *request, group_wish_t *w)
{
    const msg_consumer_group_t *g = &request->group;

    memset(w, 0, sizeof *w);
    if (!utf8_valid(g->name)) {
        call_end(c, GRPC_INTERNAL, TEXT_BAD_MESSAGE);
        return false;
    }
    if (g->name.len > NAME_MOST || memchr(g->name.len ? (const char *)g->name.ptr : "-", 0, g->name.len))
        return refused(c, "the name of a group has at most 512 bytes, and none of them is 0");
    if (request->has_query && request->query.query.len)
        return refused(c, "a group takes no query: leave it out, and leave out events in the member");
    w->project = c->claims.project;
    w->name = g->name;
    group_id_of(g->id, g->name, w->id);
    return read_delivery(c, g->delivery, &w->delivery) && read_timeout(c, g, &w->ack_wait);
}

static int find_by_index(const void *index, const void *topic)
{
    const size_t *at = index;
    const group_topic_t *t = topic;
    return (*at > t->index) - (*at < t->index);
}

/* Names that the subscription does not have are passed over. The topics are in the order of their indices. */
static void read_offsets(const service_t *s, const call_t *c, ensign_slice_t offsets, group_topic_t *topics,
                         size_t count)
{
    msg_consumer_group_topic_offsets_entry_t entry;
    ensign_slice_t item;
    size_t at = 0;

    while (msg_next(offsets, MSG_CONSUMER_GROUP_TOPIC_OFFSETS_TAG, &at, &item)) {
        const topic_t *t = NULL;
        group_topic_t *wanted = NULL;
        if (msg_decode(MSG_CONSUMER_GROUP_TOPIC_OFFSETS_ENTRY, &entry, item))
            t = topics_by_name(s->topics, &c->claims.project, entry.key);
        if (t) wanted = bsearch(&t->index, topics, count, sizeof *topics, find_by_index);
        if (!wanted) continue;
        wanted->has_offset = true;
        wanted->offset = entry.value;
    }
}

static group_topic_t *read_topics(topic_t *const *topics, size_t count)
{
    group_topic_t *out = x_alloc(count * sizeof *out);

    for (size_t i = 0; i < count; i++) {
        out[i].id = topics[i]->id;
        out[i].index = topics[i]->index;
        out[i].deathless = topics[i]->dead_letters;
    }
    return out;
}

static int status_of(group_result_t result)
{
    switch (result) {
    case GROUP_DIFFERS: return GRPC_FAILED_PRECONDITION;
    case GROUP_TOO_MANY: return GRPC_RESOURCE_EXHAUSTED;
    default: return GRPC_UNAVAILABLE;
    }
}

static bool join(group_stream_t *g, const msg_subscription_t *request, topic_t *const *topics, size_t count)
{
    group_wish_t wish;
    group_topic_t *wanted;
    group_result_t result;
    why_t why;

    if (log_is_shared(g->service->log)) {
        call_end(g->call, GRPC_UNIMPLEMENTED, "this server keeps its events in NATS, and has no consumer "
                                              "groups: subscribe without a group");
        return false;
    }
    if (!read_wish(g->call, request, &wish)) return false;
    wish.topics = wanted = read_topics(topics, count);
    wish.topic_count = count;
    read_offsets(g->service, g->call, request->group.topic_offsets, wanted, count);
    g->member = group_join(g->service->groups, &wish, g, &result, &why);
    if (!g->member) call_end(g->call, status_of(result), why.text);
    free(wanted);
    return g->member != NULL;
}

group_stream_t *group_stream_open(service_t *s, call_t *c, const msg_subscription_t *request,
                                  topic_t *const *topics, size_t count, buf_t ready)
{
    group_stream_t *g = x_alloc(sizeof *g);

    g->service = s;
    g->call = c;
    g->ready = ready;
    if (join(g, request, topics, count)) return g;
    group_stream_close(g);
    return NULL;
}

void group_stream_message(group_stream_t *g, const msg_subscribe_request_t *request)
{
    if (request->has_ack) group_ack(g->member, request->ack.id);
    else if (request->has_nack) group_nack(g->member, request->nack.id, request->nack.code, now_ms());
}

void group_stream_close(group_stream_t *g)
{
    if (g->member) group_leave(g->member);
    log_line("%s: member of a group gone: %llu events delivered", g->call->peer,
             (unsigned long long)g->delivered);
    buf_free(&g->ready);
    buf_free(&g->frame);
    free(g);
}
