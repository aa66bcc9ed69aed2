/* streams.c - see streams.h */
#include "streams.h"
#include "wrapper.h"
#include <stdlib.h>
#include <string.h>

void stream_put_prefix(uint8_t *p, size_t message_len)
{
    p[0] = 0;
    for (unsigned i = 0; i < 4; i++) p[1 + i] = (uint8_t)(message_len >> (24 - 8 * i) & 0xff);
}

buf_t stream_framed(msg_kind_t kind, const void *message)
{
    buf_t b = { NULL, 0, 0, 0 };
    size_t n, written = 0;
    uint8_t *p;

    if (!msg_size(kind, message, &n)) return b;
    p = buf_room(&b, 5 + n);
    if (!msg_encode(kind, message, p + 5, n, &written)) return b;
    stream_put_prefix(p, written);
    b.end = 5 + written;
    return b;
}

void stream_send(call_t *c, msg_kind_t kind, const void *message)
{
    buf_t b = stream_framed(kind, message);
    if (buf_len(&b)) call_send_framed(c, buf_bytes(&b));
    buf_free(&b);
}

void stream_put_event(buf_t *out, const log_event_t *e, uint64_t epoch)
{
    wrapper_t w;
    size_t n, head;
    uint8_t *p;

    wrapper_of(&w, e, e->value, epoch, true);
    n = wrapper_size(&w);
    head = 1 + msg_varint_size(n);
    p = buf_room(out, FRAME_PREFIX + head + n);
    out->end += FRAME_PREFIX + head + n;
    stream_put_prefix(p, head + n);
    p[FRAME_PREFIX] = MSG_SUBSCRIBE_REPLY_EVENT_TAG << 3 | MSG_WIRE_BYTES;
    wrapper_write(msg_put_varint(p + FRAME_PREFIX + 1, n), &w);
}

bool stream_may_open(service_t *s, call_t *c)
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

bool bits_has(const uint8_t *set, size_t bits, size_t i)
{
    return i < bits && (set[i / 8] >> (i % 8) & 1);
}

void bits_set(uint8_t *set, size_t i)
{
    set[i / 8] |= (uint8_t)(1u << (i % 8));
}

static bool is_among_all(const service_t *s, const call_t *c, const topic_t *t)
{
    return ulid_eq(&t->project, &c->claims.project) && (s->strict || !t->dead_letters);
}

size_t stream_choose(const service_t *s, const call_t *c, ensign_slice_t filter, uint32_t tag, uint8_t *set)
{
    const topics_t *all = s->topics;
    ensign_slice_t text;
    size_t at = 0, n = 0;

    if (filter.len == 0) {
        for (size_t i = 0; i < all->count; i++)
            if (is_among_all(s, c, all->all[i])) bits_set(set, i);
    }
    while (msg_next(filter, tag, &at, &text)) {
        topic_t *t = topics_lookup(all, &c->claims.project, text);
        if (t) bits_set(set, t->index);
    }
    for (size_t i = 0; i < all->count; i++) n += bits_has(set, all->count, i);
    return n;
}

void stream_put_topics(buf_t *out, const topics_t *all, const uint8_t *set)
{
    buf_t entry = { NULL, 0, 0, 0 };

    for (size_t i = 0; i < all->count; i++) {
        const topic_t *t = all->all[i];
        if (!bits_has(set, all->count, i)) continue;
        entry.start = entry.end = 0;
        msg_put_field(&entry, 1, slice_text(t->name));
        msg_put_field(&entry, 2, slice_of(t->id.b, sizeof t->id.b));
        msg_put_field(out, MSG_STREAM_READY_TOPICS_TAG, buf_bytes(&entry));
    }
    buf_free(&entry);
}
