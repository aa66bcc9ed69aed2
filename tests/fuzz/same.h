/* same.h - what the readers of section wire make of bytes, beside what nanopb makes of them: for
 * tests/unit/wire.c and fuzz_wire.c, whose includes come first */
#ifndef SAME_H
#define SAME_H

static inline void same(bool truth, const char *what)
{
    if (truth) return;
    fprintf(stderr, "wire: not what nanopb reads: %s\n", what);
    abort();
}

/* The same bytes in the same place; absent and empty differ. */
static inline bool same_slice(ensign_slice_t a, ensign_slice_t b)
{
    return a.len == b.len && a.ptr == b.ptr;
}

static inline bool same_time(ensign_time_t a, ensign_time_t b)
{
    return a.seconds == b.seconds && a.nanos == b.nanos;
}

static inline void same_event(const ensign_event_t *a, const ensign_event_t *b)
{
    same(same_slice(a->data, b->data), "data");
    same(a->mimetype == b->mimetype, "mimetype");
    same(same_slice(a->type.name, b->type.name) && a->type.major == b->type.major &&
             a->type.minor == b->type.minor && a->type.patch == b->type.patch,
         "type");
    same(same_time(a->created, b->created), "created");
    same(same_slice(a->metadata, b->metadata), "metadata");
    same(same_slice(a->key, b->key), "key");
    same(same_slice(a->encryption, b->encryption), "encryption");
    same(same_slice(a->compression, b->compression), "compression");
    same(memcmp(a->id.b, b->id.b, sizeof a->id.b) == 0, "id");
    same(memcmp(a->topic_id.b, b->topic_id.b, sizeof a->topic_id.b) == 0, "topic_id");
    same(same_slice(a->publisher_id, b->publisher_id), "publisher_id");
    same(same_slice(a->publisher_client_id, b->publisher_client_id), "publisher_client_id");
    same(same_slice(a->publisher_address, b->publisher_address), "publisher_address");
    same(same_slice(a->publisher_agent, b->publisher_agent), "publisher_agent");
    same(same_time(a->committed, b->committed), "committed");
    same(a->offset == b->offset && a->epoch == b->epoch, "offset, epoch");
    same(memcmp(a->duplicate_of.b, b->duplicate_of.b, sizeof a->duplicate_of.b) == 0, "duplicate_of");
}

/* Reads the bytes as an event, in both ways. Returns whether section wire read them itself. */
static inline bool compare_event(ensign_slice_t message, bool bare)
{
    ensign_event_t fast, slow, either;
    ensign_slice_t wrapper = message;
    bool good, took, got;
    memset(&fast, 0, sizeof fast);
    took = (bare || ensi_wire_wrapped(message, &wrapper)) && ensi_wire_event(wrapper, &fast);
    good = ensi_event_decode(&slow, message, bare);
    got = ensi_event_read(&either, message, bare);
    same(!took || good, "an event that nanopb refuses");
    if (took) same_event(&fast, &slow);
    same(got == good, "what is left to nanopb");
    if (got) same_event(&either, &slow);
    return took;
}

/* The same for an ack of the server's. */
static inline bool compare_ack(ensign_slice_t reply)
{
    ensi_pb_publisher_reply_t slow;
    ensign_slice_t id;
    ensign_time_t committed;
    bool took = ensi_wire_ack(reply, &id, &committed);
    bool good = ensi_pb_decode(ensi_pb_publisher_reply_fields, &slow, reply.ptr, reply.len);
    if (!took) return false;
    same(good && slow.has_ack, "an ack that nanopb refuses");
    same(!slow.has_nack && !slow.has_ready && !slow.has_close_stream, "an ack that is more");
    same(same_slice(id, slow.ack.id), "an ack's id");
    same(same_time(committed, ensi_time_of(slow.ack.has_committed, &slow.ack.committed)), "an ack's time");
    return true;
}

#endif
