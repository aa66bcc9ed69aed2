/* service.h - the messages of the Ensign service as its server writes and reads them, by hand */
#ifndef SERVICE_H
#define SERVICE_H

#include "peer.h"

static const uint8_t weather_id[16] = "weather-id-16byt";
static const uint8_t traffic_id[16] = "traffic-id-16byt";

/* ------------------------------------------------------------------ topics by their number */
/* "weather", "t1", "t2" and so on. */
static UNUSED const char *service_topic_name(unsigned i)
{
    static char names[16][12];
    assert_true(i < COUNT(names));
    if (i == 0) return "weather";
    snprintf(names[i], sizeof names[i], "t%u", i);
    return names[i];
}

/* `count`: none of so many has this name. */
static UNUSED unsigned service_topic_named(ensign_slice_t name, unsigned count)
{
    unsigned i = 0;
    while (i < count && !(name.len == strlen(service_topic_name(i)) &&
                          memcmp(name.ptr, service_topic_name(i), name.len) == 0))
        i++;
    return i;
}

/* An id begins with "topic", and ends in the number counted from 1. `count`: none of so many has this id. */
static UNUSED unsigned service_topic_with_id(const uint8_t *id, unsigned count)
{
    unsigned i = id[15] - 1u;
    return memcmp(id, "topic", 5) == 0 && i < count ? i : count;
}

/* ------------------------------------------------------------------ publish: what the server says */
static UNUSED void service_topics(bytes_t *ready, uint32_t tag)
{
    bytes_t entry = {0};
    enc_text(&entry, 1, "weather");
    enc_bytes(&entry, 2, weather_id, 16);
    enc_message(ready, tag, &entry);
    enc_text(&entry, 1, "traffic");
    enc_bytes(&entry, 2, traffic_id, 16);
    enc_message(ready, tag, &entry);
}

/* StreamReady as field `tag` of a reply: 3 to a publisher, 2 to a subscriber. */
static UNUSED void service_ready(stream_t *s, uint32_t tag)
{
    bytes_t ready = {0}, reply = {0};
    enc_text(&ready, 1, "me");
    enc_text(&ready, 2, "real");
    service_topics(&ready, 3);
    enc_message(&reply, tag, &ready);
    peer_send(s, &reply);
}

static UNUSED void service_ack(stream_t *s, const uint8_t *id, size_t n, int64_t seconds)
{
    bytes_t ack = {0}, reply = {0};
    enc_bytes(&ack, 1, id, n);
    enc_time(&ack, 2, seconds, 5);
    enc_message(&reply, 1, &ack);
    peer_send(s, &reply);
}

static UNUSED void service_nack(stream_t *s, const uint8_t *id, size_t n, uint32_t code, const char *text)
{
    bytes_t nack = {0}, reply = {0};
    enc_bytes(&nack, 1, id, n);
    enc_uint(&nack, 2, code);
    enc_text(&nack, 3, text);
    enc_message(&reply, 2, &nack);
    peer_send(s, &reply);
}

/* close_stream and the trailers: the answer to a half-close. */
static UNUSED void service_close(stream_t *s)
{
    bytes_t close = {0}, reply = {0};
    enc_message(&reply, 4, &close);
    peer_send(s, &reply);
    peer_finish(s, 0, NULL, NULL);
}

/* ------------------------------------------------------------------ publish: what the server hears */
typedef struct heard_t {
    stream_t *stream;
    uint8_t id[16], topic[16];
    bytes_t wrapper, event;
    bool answered;
} heard_t;

typedef struct service_t {
    heard_t *events;
    size_t count, cap, opened;
    bool mute;                      /* no ready */
    bool ack;                       /* each event at once */
    int64_t clock;
} service_t;

static service_t service;

static UNUSED void service_reset(void)
{
    size_t i;
    for (i = 0; i < service.count; i++) {
        bytes_free(&service.events[i].wrapper);
        bytes_free(&service.events[i].event);
    }
    free(service.events);
    memset(&service, 0, sizeof service);
}

static UNUSED void service_hear(world_t *w, stream_t *s, ensign_slice_t wrapper)
{
    heard_t *h;
    ensign_slice_t f;
    if (s->stage != 1) world_fail(w, "an event before ready or without open_stream");
    if (service.count == service.cap) {
        service.cap = service.cap * 2 + 64;
        service.events = (heard_t *)realloc(service.events, service.cap * sizeof *service.events);
        if (!service.events) abort();
    }
    h = &service.events[service.count++];
    memset(h, 0, sizeof *h);
    h->stream = s;
    bytes_add(&h->wrapper, wrapper.ptr, wrapper.len);
    if (!dec_field(wrapper, 16, &f) || f.len != 16) world_fail(w, "an event without a local_id of 16 bytes");
    memcpy(h->id, f.ptr, 16);
    if (!dec_field(wrapper, 2, &f) || f.len != 16) world_fail(w, "an event without a topic_id of 16 bytes");
    memcpy(h->topic, f.ptr, 16);
    if (dec_field(wrapper, 9, &f)) bytes_add(&h->event, f.ptr, f.len);
    if (service.ack) {
        h->answered = true;
        service_ack(s, h->id, 16, ++service.clock);
    }
}

static UNUSED void service_publish(world_t *w, stream_t *s, ensign_slice_t m)
{
    ensign_slice_t f;
    if (dec_field(m, 2, &f)) {
        ensign_slice_t who;
        if (s->stage) world_fail(w, "a second open_stream on one stream");
        assert_true(dec_field(f, 1, &who));
        assert_text(who, "me");
        service.opened++;
        if (service.mute) return;
        s->stage = 1;
        service_ready(s, 3);
        return;
    }
    if (!dec_field(m, 1, &f)) world_fail(w, "a publisher's message that is neither an event nor open_stream");
    service_hear(w, s, f);
}

static UNUSED void service_half(world_t *w, stream_t *s)
{
    (void)w;
    if (!s->done) service_close(s);
}

static UNUSED ensign_slice_t heard_data(const heard_t *h)
{
    ensign_slice_t data = { NULL, 0 };
    dec_field(bytes_slice(&h->event), 2, &data);
    return data;
}

static UNUSED heard_t *heard(world_t *w, size_t i)
{
    world_until(w, service.count > i);
    return &service.events[i];
}

static UNUSED void heard_ack(world_t *w, size_t i)
{
    heard_t *h = heard(w, i);
    h->answered = true;
    service_ack(h->stream, h->id, 16, 100 + (int64_t)i);
}

static UNUSED void heard_nack(world_t *w, size_t i, uint32_t code, const char *text)
{
    heard_t *h = heard(w, i);
    h->answered = true;
    service_nack(h->stream, h->id, 16, code, text);
}

/* ------------------------------------------------------------------ subscribe */
typedef struct delivery_t { const char *data; size_t len; uint64_t number; } delivery_t;

/* All that an Event has, with this data. */
static UNUSED void service_event(bytes_t *e, const void *data, size_t len)
{
    bytes_t pair = {0}, type = {0};
    enc_bytes(e, 2, data, len);
    enc_text(&pair, 1, "key");
    enc_text(&pair, 2, "value");
    enc_message(e, 3, &pair);
    enc_uint(e, 4, 50);
    enc_text(&type, 1, "Report");
    enc_uint(&type, 2, 1);
    enc_uint(&type, 3, 2);
    enc_uint(&type, 4, 3);
    enc_message(e, 5, &type);
    enc_time(e, 15, 1600000000, 7);
}

static UNUSED void service_who(bytes_t *who)
{
    enc_text(who, 1, "publisher");
    enc_text(who, 2, "1.2.3.4:5");
    enc_text(who, 3, "client");
    enc_text(who, 4, "agent");
}

/* An event as the live server delivers it; its RLID ends in `number`. */
static UNUSED void service_deliver(stream_t *s, uint64_t number, const void *data, size_t len)
{
    bytes_t e = {0}, who = {0}, wrap = {0}, reply = {0};
    uint8_t id[10] = { 1, 2, 3, 4, 5, 6, 0, 0, 0, 0 };
    id[8] = (uint8_t)(number >> 8);
    id[9] = (uint8_t)number;
    service_event(&e, data, len);
    enc_bytes(&wrap, 1, id, 10);
    enc_bytes(&wrap, 2, weather_id, 16);
    enc_uint(&wrap, 3, number);
    service_who(&who);
    enc_message(&wrap, 6, &who);
    enc_message(&wrap, 9, &e);
    enc_time(&wrap, 15, 1600000001, 8);
    enc_message(&reply, 1, &wrap);
    peer_send(s, &reply);
}

static UNUSED void service_topic(bytes_t *reply, uint32_t tag, const char *name, const uint8_t *id)
{
    bytes_t t = {0};
    enc_bytes(&t, 1, id, 16);
    enc_bytes(&t, 2, "project-id-16byt", 16);
    enc_text(&t, 3, name);
    enc_uint(&t, 7, 1);
    enc_time(&t, 14, 1600000000, 0);
    enc_time(&t, 15, 1600000000, 0);
    if (tag) {
        enc_message(reply, tag, &t);
    } else {
        bytes_add(reply, t.p, t.len);
        bytes_free(&t);
    }
}

/* The one answer of a request, and OK. */
static UNUSED void service_answer(stream_t *s, bytes_t *reply)
{
    peer_message(s, reply->p, reply->len);
    bytes_free(reply);
    peer_finish(s, 0, NULL, NULL);
}

typedef struct service_list_t {     /* a server that has some of `count` topics, and lists them by pages */
    unsigned there;                 /* bits */
    unsigned count, page;
    const char *(*name)(unsigned i);
    void (*id)(unsigned i, uint8_t id[16]);
} service_list_t;

/* ListTopics: a page, from the topic on that the token of the request m tells. */
static UNUSED void service_page(stream_t *s, ensign_slice_t m, const service_list_t *l)
{
    bytes_t reply = {0};
    ensign_slice_t token = { NULL, 0 };
    unsigned i = dec_field(m, 2, &token) && token.len == 1 ? token.ptr[0] - 'a' : 0, given = 0;
    char next[2] = "";
    for (; i < l->count && given < l->page; i++) {
        uint8_t id[16];
        if (!(l->there & 1u << i)) continue;
        l->id(i, id);
        service_topic(&reply, 1, l->name(i), id);
        given++;
    }
    next[0] = (char)('a' + i);
    if (i < l->count) enc_text(&reply, 2, next);
    service_answer(s, &reply);
}

/* ------------------------------------------------------------------ a subscriber, for scripts about the way */
static UNUSED ensign_subscription_t service_subscribe(world_t *w)
{
    ensign_subscription_desc_t d;
    memset(&d, 0, sizeof d);
    return ensign_subscription_open(w->client, &d);
}

/* How long it takes until a first stream is there: with a token where there is a key, and without a fault that
 * a program sees. */
static UNUSED uint64_t service_time_to_stream(world_t *w, ensign_subscription_t s)
{
    uint64_t began = w->now;
    world_stream(w, 0);
    world_pull(w, s.id);
    world_hear(w);
    assert_int_equal(w->waits, 0);
    assert_int_equal(w->disconnected, 0);
    assert_int_equal(w->connected, 1);
    if (w->desc.client_id) assert_int_equal(w->auth_requests, 1);
    return w->now - began;
}

#endif
