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
#define QUERY_MOST 65536u               /* bytes of its query, which its record keeps */
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
    /* Until it has joined: what it wants, and what that points at. */
    group_wish_t   wish;
    char          *name;
    group_topic_t *topics;
    buf_t          query;
    select_t       select;
    reader_t       reader;              /* looks for the place of OFFSET */
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

static bool read_name(group_stream_t *g, const msg_consumer_group_t *request)
{
    ensign_slice_t name = request->name;

    if (!utf8_valid(name)) {
        call_end(g->call, GRPC_INTERNAL, TEXT_BAD_MESSAGE);
        return false;
    }
    if (name.len > NAME_MOST || memchr(name.len ? (const char *)name.ptr : "-", 0, name.len))
        return refused(g->call, "the name of a group has at most 512 bytes, and none of them is 0");
    g->name = slice_dup(name);
    g->wish.name = slice_of(g->name, name.len);
    group_id_of(request->id, name, g->wish.id);
    return true;
}

/* As the group keeps it, so that the same query has the same bytes. It has no parameters if it names none. */
static bool read_query(group_stream_t *g, const msg_query_t *q)
{
    msg_query_t kept;
    buf_t params = { NULL, 0, 0, 0 };
    ensign_slice_t item;
    size_t at = 0;

    if (q->query.len == 0) return true;
    memset(&kept, 0, sizeof kept);
    kept.query = q->query;
    while (memchr(q->query.ptr, ':', q->query.len) && msg_next(q->params, MSG_QUERY_PARAMS_TAG, &at, &item))
        msg_put_field(&params, MSG_QUERY_PARAMS_TAG, item);
    kept.params = buf_bytes(&params);
    msg_put(&g->query, MSG_QUERY, &kept);
    buf_free(&params);
    g->wish.query = buf_bytes(&g->query);
    return g->wish.query.len <= QUERY_MOST ||
           refused(g->call, "the query of a group and its parameters have at most 65536 bytes; shorten it");
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

static void read_topics(group_stream_t *g, topic_t *const *topics, size_t count)
{
    g->topics = x_alloc(count * sizeof *g->topics);
    for (size_t i = 0; i < count; i++) {
        g->topics[i].id = topics[i]->id;
        g->topics[i].index = topics[i]->index;
        g->topics[i].deathless = topics[i]->dead_letters;
    }
    g->wish.topics = g->topics;
    g->wish.topic_count = count;
}

static bool read_wish(group_stream_t *g, const msg_subscription_t *request, topic_t *const *topics,
                      size_t count)
{
    const msg_consumer_group_t *group = &request->group;

    g->wish.project = g->call->claims.project;
    g->wish.select = &g->select;
    if (!read_name(g, group) || !read_query(g, &request->query)) return false;
    if (!read_delivery(g->call, group->delivery, &g->wish.delivery)) return false;
    if (!read_timeout(g->call, group, &g->wish.ack_wait)) return false;
    read_topics(g, topics, count);
    read_offsets(g->service, g->call, group->topic_offsets, g->topics, count);
    return true;
}

static int status_of(group_result_t result)
{
    switch (result) {
    case GROUP_DIFFERS: return GRPC_FAILED_PRECONDITION;
    case GROUP_TOO_MANY: return GRPC_RESOURCE_EXHAUSTED;
    default: return GRPC_UNAVAILABLE;
    }
}

static void forget_wish(group_stream_t *g)
{
    reader_close(&g->reader);
    select_free(&g->select);
    buf_free(&g->query);
    free(g->topics);
    free(g->name);
    g->topics = NULL;
    g->name = NULL;
}

static void join(group_stream_t *g)
{
    group_result_t result;
    why_t why;

    g->member = group_join(g->service->groups, &g->wish, g, &result, &why);
    if (!g->member) call_end(g->call, status_of(result), why.text);
    forget_wish(g);
}

static void on_found(reader_t *r)
{
    group_stream_t *g = r->user;

    g->topics[0].has_offset = true;
    g->topics[0].offset = r->place;
    join(g);
}

/* OFFSET counts for a new place, and where the client has named no other one. */
static bool begins_at_offset(const group_stream_t *g)
{
    place_key_t key;

    if (!g->select.query.has_offset || g->topics[0].has_offset) return false;
    key.project = g->wish.project;
    memcpy(key.group, g->wish.id, sizeof key.group);
    key.topic = g->topics[0].id;
    return !groups_has_place(g->service->groups, &key);
}

static void find_offset(group_stream_t *g, topic_t *t)
{
    static const reader_hooks_t hooks = { NULL, NULL, on_found };
    topic_t **topics = x_alloc(sizeof *topics);

    topics[0] = t;
    g->reader.hooks = &hooks;
    g->reader.user = g;
    reader_open(&g->reader, &g->service->feeds, &g->wish.project, topics, 1);
    reader_find(&g->reader, g->select.query.offset);
}

group_stream_t *group_stream_open(service_t *s, call_t *c, const msg_subscription_t *request,
                                  topic_t *const *topics, size_t count, buf_t ready, select_t *select)
{
    group_stream_t *g = x_alloc(sizeof *g);

    g->service = s;
    g->call = c;
    g->ready = ready;
    g->select = *select;
    memset(select, 0, sizeof *select);
    if (log_is_shared(s->log)) {
        call_end(c, GRPC_UNIMPLEMENTED, "this server keeps its events in NATS, and has no consumer groups: "
                                        "subscribe without a group");
    } else if (read_wish(g, request, topics, count)) {
        if (begins_at_offset(g)) find_offset(g, topics[0]);
        else join(g);
    }
    if (!c->ended) return g;
    group_stream_close(g);
    return NULL;
}

/* Before it has joined it has no events. */
void group_stream_message(group_stream_t *g, const msg_subscribe_request_t *request)
{
    if (!g->member) return;
    if (request->has_ack) group_ack(g->member, request->ack.id);
    else if (request->has_nack) group_nack(g->member, request->nack.id, request->nack.code, now_ms());
}

void group_stream_close(group_stream_t *g)
{
    if (g->member) group_leave(g->member);
    log_line("%s: member of a group gone: %llu events delivered", g->call->peer,
             (unsigned long long)g->delivered);
    forget_wish(g);
    buf_free(&g->ready);
    buf_free(&g->frame);
    free(g);
}
