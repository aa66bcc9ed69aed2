/* pb.c - the protobuf section: what is written, what is read, what is refused */
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define EVERY_MESSAGE(X) \
    X(timestamp) X(duration) X(event_metadata_entry) X(type) X(event) X(publisher) X(encryption) \
    X(compression) X(event_wrapper) X(deduplication) X(node) X(placement) X(topic) X(topics_page) \
    X(topic_name) X(topic_names_page) X(event_type_info) X(topic_info) X(topic_mod) X(topic_status) \
    X(topic_exists_info) X(topic_policy) X(consumer_group_topic_offsets_entry) X(consumer_group) \
    X(parameter) X(query) X(query_explanation) X(ack) X(nack) X(open_stream) X(publisher_request) \
    X(close_stream) X(stream_ready_topics_entry) X(stream_ready) X(publisher_reply) X(subscribe_reply) \
    X(subscription) X(subscribe_request) X(info_request) X(project_info) \
    X(health_check) X(service_state) X(page_info) X(health_check_request) X(health_check_response)

#define MEMBER(name) ensi_pb_##name##_t name;
typedef union { EVERY_MESSAGE(MEMBER) } any_t;

#define ROW(name) { #name, ensi_pb_##name##_fields, sizeof(ensi_pb_##name##_t) },
static const struct { const char *name; const pb_msgdesc_t *fields; size_t size; } every[] = {
    EVERY_MESSAGE(ROW)
};

#define ULID "\x01\x8c\x1a\x2b\x3c\x4d\x5e\x6f\x70\x81\x92\xa3\xb4\xc5\xd6\xe7"
#define LOCAL_ID "nonce-bytes-0001"

/* ---------------------------------------------------------------- helpers */

static ensign_slice_t text(const char *s)
{
    ensign_slice_t slice = { (const uint8_t *)s, strlen(s) };
    return slice;
}

static ensign_slice_t bytes(const void *p, size_t n)
{
    ensign_slice_t slice = { (const uint8_t *)p, n };
    return slice;
}

#define WIRE(literal) bytes(literal, sizeof(literal) - 1)
#define READ(name, message, literal) \
    ensi_pb_decode(ensi_pb_##name##_fields, message, (const uint8_t *)(literal), sizeof(literal) - 1)

static void same(ensign_slice_t have, ensign_slice_t want)
{
    assert_int_equal(have.len, want.len);
    if (want.len) assert_memory_equal(have.ptr, want.ptr, want.len);
}

/* A copy in a block of just that size, so that a sanitizer sees one byte too many. */
static uint8_t *tight(ensign_slice_t wire)
{
    uint8_t *p = (uint8_t *)malloc(wire.len ? wire.len : 1);
    assert_non_null(p);
    if (wire.len) memcpy(p, wire.ptr, wire.len);
    return p;
}

/* Every slice and span of the message, at any depth, lies inside the input or is absent. */
static void all_inside(const pb_msgdesc_t *fields, void *message, const uint8_t *p, size_t n)
{
    pb_field_iter_t field;

    if (!pb_field_iter_begin(&field, fields, message)) return;
    do {
        if (PB_ATYPE(field.type) == PB_ATYPE_CALLBACK) {
            const ensign_slice_t *slice = (const ensign_slice_t *)field.pData;
            if (!slice->ptr) {
                assert_int_equal(slice->len, 0);
                continue;
            }
            assert_true(slice->ptr >= p && slice->ptr <= p + n);
            assert_true(slice->len <= (size_t)(p + n - slice->ptr));
        } else if (PB_LTYPE_IS_SUBMSG(field.type)) {
            all_inside(field.submsg_desc, field.pData, p, n);
        }
    } while (pb_field_iter_next(&field));
}

/* Decodes a tight copy over a message full of rubbish, checks the slices; the copy is gone afterwards. */
static bool decodes(const pb_msgdesc_t *fields, ensign_slice_t wire)
{
    uint8_t *p = tight(wire);
    any_t any;
    bool ok;

    memset(&any, 0xA5, sizeof any);
    ok = ensi_pb_decode(fields, &any, p, wire.len);
    all_inside(fields, &any, p, wire.len);
    free(p);
    return ok;
}

static void encodes_to(const pb_msgdesc_t *fields, const void *message, ensign_slice_t want)
{
    uint8_t out[1024];
    size_t len = 0, size = 0;

    assert_true(ensi_pb_encode(fields, message, out, sizeof out, &len));
    same(bytes(out, len), want);
    assert_true(ensi_pb_size(fields, message, &size));
    assert_int_equal(size, want.len);
    for (size_t cap = 0; cap < want.len; cap++) assert_false(ensi_pb_encode(fields, message, out, cap, &len));
}

/* What was decoded from `wire` is written as `want`, and that is written as itself. */
static void rewrites_to(const pb_msgdesc_t *fields, ensign_slice_t wire, ensign_slice_t want)
{
    any_t any;

    assert_true(ensi_pb_decode(fields, &any, wire.ptr, wire.len));
    encodes_to(fields, &any, want);
    assert_true(ensi_pb_decode(fields, &any, want.ptr, want.len));
    encodes_to(fields, &any, want);
}

static size_t count(ensign_slice_t span, uint32_t tag)
{
    ensign_slice_t value;
    size_t at = 0, n = 0;

    while (ensi_pb_span_next(span, tag, &at, &value)) n++;
    return n;
}

/* xorshift64*: the same on every machine */
static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * UINT64_C(2685821657736338717);
}

/* ---------------------------------------------------------------- the wire as it was seen */

static const char publish_open[] = "\x12\x04\x0a\x02me";
static const char publish_event[] = "\x0a\x2b\x12\x10" ULID "\x4a\x04\x12\x02hi\x82\x01\x10" LOCAL_ID;
static const char publish_ready[] = "\x1a\x27\x0a\x02me\x12\x04real\x1a\x1b\x0a\x07weather\x12\x10" ULID;
static const char subscribe_open[] = "\x1a\x0d\x0a\x02me\x12\x07weather";

static void publish_opens_as_seen(void **state)
{
    ensi_pb_publisher_request_t m;
    (void)state;
    memset(&m, 0, sizeof m);
    m.has_open_stream = true;
    m.open_stream.client_id = text("me");
    encodes_to(ensi_pb_publisher_request_fields, &m, WIRE(publish_open));
}

static void publish_writes_an_event_as_seen(void **state)
{
    ensi_pb_publisher_request_t m;
    ensi_pb_event_t event;
    uint8_t inner[16];
    size_t len = 0;
    (void)state;

    memset(&event, 0, sizeof event);
    event.data = text("hi");
    assert_true(ensi_pb_encode(ensi_pb_event_fields, &event, inner, sizeof inner, &len));
    memset(&m, 0, sizeof m);
    m.has_event = true;
    m.event.topic_id = WIRE(ULID);
    m.event.event = bytes(inner, len);
    m.event.local_id = WIRE(LOCAL_ID);
    encodes_to(ensi_pb_publisher_request_fields, &m, WIRE(publish_event));
}

static void ready_is_read_and_written_as_seen(void **state)
{
    ensi_pb_publisher_reply_t m;
    ensi_pb_stream_ready_topics_entry_t entry;
    ensign_slice_t wire = WIRE(publish_ready), value;
    size_t at = 0;
    (void)state;

    assert_true(ensi_pb_decode(ensi_pb_publisher_reply_fields, &m, wire.ptr, wire.len));
    assert_true(m.has_ready && !m.has_ack && !m.has_nack && !m.has_close_stream);
    same(m.ready.client_id, text("me"));
    same(m.ready.server_id, text("real"));
    assert_true(ensi_pb_span_next(m.ready.topics, ENSI_PB_STREAM_READY_TOPICS_TAG, &at, &value));
    assert_true(ensi_pb_decode(ensi_pb_stream_ready_topics_entry_fields, &entry, value.ptr, value.len));
    same(entry.key, text("weather"));
    same(entry.value, WIRE(ULID));
    assert_ptr_equal(entry.value.ptr, wire.ptr + wire.len - 16); /* not a copy */
    assert_false(ensi_pb_span_next(m.ready.topics, ENSI_PB_STREAM_READY_TOPICS_TAG, &at, &value));
    encodes_to(ensi_pb_publisher_reply_fields, &m, wire);
}

static void subscribe_opens_as_seen(void **state)
{
    ensi_pb_subscribe_request_t m;
    ensign_slice_t topics = { (const uint8_t *)"\x12\x07weather", 9 };
    (void)state;
    memset(&m, 0, sizeof m);
    m.has_subscription = true;
    m.subscription.client_id = text("me");
    m.subscription.topics = topics;
    encodes_to(ensi_pb_subscribe_request_fields, &m, WIRE(subscribe_open));
}

static void close_stream_of_zeros_is_there(void **state)
{
    ensi_pb_publisher_reply_t m;
    (void)state;
    assert_true(READ(publisher_reply, &m, "\x22\x00"));
    assert_true(m.has_close_stream);
    assert_int_equal(m.close_stream.events, 0);
    encodes_to(ensi_pb_publisher_reply_fields, &m, bytes("\x22\x00", 2));
}

/* ---------------------------------------------------------------- round trips */

static void nothing_is_a_message_without_fields(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof every / sizeof every[0]; i++) {
        any_t any;
        size_t len = 1;
        memset(&any, 0xA5, sizeof any);
        assert_true(ensi_pb_decode(every[i].fields, &any, NULL, 0));
        all_inside(every[i].fields, &any, NULL, 0);
        assert_true(ensi_pb_encode(every[i].fields, &any, (uint8_t *)&len, 0, &len));
        assert_int_equal(len, 0);
    }
}

static void decode_zeroes_the_whole_struct(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof every / sizeof every[0]; i++) {
        any_t any, guard;
        memset(&any, 0xA5, sizeof any);
        memset(&guard, 0xA5, sizeof guard);
        assert_true(ensi_pb_decode(every[i].fields, &any, NULL, 0));
        assert_memory_equal((uint8_t *)&any + every[i].size, &guard, sizeof any - every[i].size);
        memset(&guard, 0, sizeof guard);
        assert_memory_equal(&any, &guard, every[i].size);
    }
}

static void wrapper_keeps_every_field(void **state)
{
    ensi_pb_subscribe_reply_t m, back;
    uint8_t out[512];
    size_t len = 0;
    (void)state;

    memset(&m, 0, sizeof m);
    m.has_event = true;
    m.event.id = text("0123456789");
    m.event.topic_id = WIRE(ULID);
    m.event.offset = UINT64_MAX;
    m.event.epoch = 1;
    m.event.region = 2840285;
    m.event.has_publisher = true;
    m.event.publisher.ipaddr = text("10.0.0.1:5000");
    m.event.publisher.user_agent = text("test/1");
    m.event.key = text("key");
    m.event.shard = 300;
    m.event.event = text("an event");
    m.event.has_encryption = true;
    m.event.encryption.signature_algorithm = ENSI_PB_ENCRYPTION_ALGORITHM_HMAC_SHA256;
    m.event.has_compression = true;
    m.event.compression.level = -1;
    m.event.is_duplicate = true;
    m.event.duplicate_id = text("9876543210");
    m.event.has_committed = true;
    m.event.committed.seconds = INT64_MIN;
    m.event.committed.nanos = 999999999;
    m.event.local_id = WIRE(LOCAL_ID);
    assert_true(ensi_pb_encode(ensi_pb_subscribe_reply_fields, &m, out, sizeof out, &len));
    assert_true(ensi_pb_decode(ensi_pb_subscribe_reply_fields, &back, out, len));
    encodes_to(ensi_pb_subscribe_reply_fields, &back, bytes(out, len));
    same(back.event.id, m.event.id);
    assert_true(back.event.offset == UINT64_MAX && back.event.epoch == 1 && back.event.shard == 300);
    assert_int_equal(back.event.region, 2840285);
    same(back.event.publisher.ipaddr, text("10.0.0.1:5000"));
    assert_null(back.event.publisher.client_id.ptr);
    same(back.event.event, text("an event"));
    assert_int_equal(back.event.encryption.signature_algorithm, 310);
    assert_true(back.event.has_compression && back.event.compression.level == -1 && back.event.is_duplicate);
    same(back.event.duplicate_id, text("9876543210"));
    assert_true(back.event.committed.seconds == INT64_MIN && back.event.committed.nanos == 999999999);
    same(back.event.local_id, WIRE(LOCAL_ID));
}

static void numbers_of_a_newer_server_survive(void **state)
{
    ensi_pb_nack_t nack;
    ensi_pb_event_t event;
    (void)state;

    assert_true(READ(nack, &nack, "\x10\xb9\x60"));
    assert_int_equal(nack.code, 12345);
    encodes_to(ensi_pb_nack_fields, &nack, bytes("\x10\xb9\x60", 3));
    assert_true(READ(event, &event, "\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
    assert_int_equal(event.mimetype, -1);
    assert_true(READ(event, &event, "\x20\x81\x80\x80\x80\x70"));
    assert_int_equal(event.mimetype, 1); /* the low 32 bits, as every protobuf library has it */
    assert_false(decodes(ensi_pb_type_fields, WIRE("\x10\x81\x80\x80\x80\x70"))); /* but not an unsigned */
}

static void broken_utf8_is_passed_on(void **state)
{
    ensi_pb_nack_t nack;
    (void)state;
    assert_true(READ(nack, &nack, "\x1a\x04\xff\xfe\x00\xc0"));
    same(nack.error, bytes("\xff\xfe\x00\xc0", 4));
}

static void absent_empty_and_last(void **state)
{
    ensi_pb_ack_t ack;
    (void)state;
    assert_true(READ(ack, &ack, "\x12\x00"));
    assert_null(ack.id.ptr);
    assert_true(READ(ack, &ack, "\x0a\x00"));
    assert_non_null(ack.id.ptr);
    assert_int_equal(ack.id.len, 0);
    assert_true(READ(ack, &ack, "\x0a\x01x\x0a\x02yz"));
    same(ack.id, text("yz")); /* of two the last */
}

static void parameter_tells_zero_from_nothing(void **state)
{
    ensi_pb_parameter_t m;
    (void)state;
    memset(&m, 0, sizeof m);
    encodes_to(ensi_pb_parameter_fields, &m, bytes("", 0));
    m.has_i = true;
    encodes_to(ensi_pb_parameter_fields, &m, bytes("\x08\x00", 2));
    m.i = -1;
    encodes_to(ensi_pb_parameter_fields, &m, bytes("\x08\x01", 2)); /* zigzag */
    m.has_i = false;
    m.has_d = true;
    m.d = 1.0;
    encodes_to(ensi_pb_parameter_fields, &m, bytes("\x11\0\0\0\0\0\0\xf0\x3f", 9));
}

/* ---------------------------------------------------------------- merging */

static void a_submessage_that_comes_twice_is_merged(void **state)
{
    (void)state;
    rewrites_to(ensi_pb_publisher_reply_fields, WIRE("\x0a\x03\x0a\x01x\x0a\x04\x12\x02\x08\x07"),
                WIRE("\x0a\x07\x0a\x01x\x12\x02\x08\x07"));
    rewrites_to(ensi_pb_publisher_reply_fields, WIRE("\x1a\x03\x0a\x01x\x1a\x04\x1a\x02\x0a\x00"),
                WIRE("\x1a\x07\x0a\x01x\x1a\x02\x0a\x00"));
    rewrites_to(ensi_pb_publisher_reply_fields, WIRE("\x1a\x04\x1a\x02\x0a\x00\x1a\x03\x0a\x01x"),
                WIRE("\x1a\x07\x0a\x01x\x1a\x02\x0a\x00"));
}

static void one_span_never_reaches_over_two_submessages(void **state)
{
    (void)state;
    assert_false(decodes(ensi_pb_publisher_reply_fields,
                         WIRE("\x1a\x04\x1a\x02\x0a\x00\x1a\x04\x1a\x02\x0a\x00")));
    assert_false(decodes(ensi_pb_topic_policy_fields,
                         WIRE("\x12\x03\x1a\x01k\x0a\x01i\x12\x05\x28\x01\x1a\x01k")));
    assert_false(decodes(ensi_pb_subscribe_request_fields, /* two levels up */
                         WIRE("\x1a\x04\x1a\x02\x12\x00\x1a\x04\x1a\x02\x12\x00")));
}

/* ---------------------------------------------------------------- spans */

static void a_span_holds_fields_that_lie_apart(void **state)
{
    static const char wire[] = "\x0a\x03\x1a\x01""a" "\x12\x01t" "\x0a\x03\x1a\x01""b" "\x3a\x01u";
    ensi_pb_topics_page_t page;
    ensi_pb_topic_t topic;
    ensign_slice_t value;
    size_t at = 0;
    (void)state;

    assert_true(ensi_pb_decode(ensi_pb_topics_page_fields, &page, (const uint8_t *)wire, sizeof wire - 1));
    same(page.next_page_token, text("t"));
    same(bytes(page.topics.ptr, page.topics.len), bytes(wire, 13));
    for (const char *name = "ab"; *name; name++) {
        assert_true(ensi_pb_span_next(page.topics, ENSI_PB_TOPICS_PAGE_TOPICS_TAG, &at, &value));
        assert_true(ensi_pb_decode(ensi_pb_topic_fields, &topic, value.ptr, value.len));
        same(topic.name, bytes(name, 1));
    }
    assert_false(ensi_pb_span_next(page.topics, ENSI_PB_TOPICS_PAGE_TOPICS_TAG, &at, &value));
    assert_int_equal(at, page.topics.len);
    rewrites_to(ensi_pb_topics_page_fields, WIRE(wire),
                WIRE("\x0a\x03\x1a\x01""a" "\x0a\x03\x1a\x01""b" "\x12\x01t"));
}

static void two_spans_through_each_other_do_not_multiply(void **state)
{
    static const char wire[] = "\x1a\x01k\x22\x01" "f\x1a\x01l\x22\x01g";
    ensi_pb_deduplication_t m;
    (void)state;
    assert_true(ensi_pb_decode(ensi_pb_deduplication_fields, &m, (const uint8_t *)wire, sizeof wire - 1));
    assert_int_equal(count(m.keys, ENSI_PB_DEDUPLICATION_KEYS_TAG), 2);
    assert_int_equal(count(m.fields, ENSI_PB_DEDUPLICATION_FIELDS_TAG), 2);
    rewrites_to(ensi_pb_deduplication_fields, WIRE(wire), WIRE("\x1a\x01k\x1a\x01l\x22\x01" "f\x22\x01g"));
}

static void padded_tags_and_lengths_are_found(void **state)
{
    static const char wire[] = "\x12\x02\x92\x80\x92\x80\x00\x81\x80\x80\x80\x00" "x\x92\x00\x01y";
    ensi_pb_open_stream_t m;
    ensign_slice_t value;
    size_t at = 0;
    (void)state;

    assert_true(ensi_pb_decode(ensi_pb_open_stream_fields, &m, (const uint8_t *)wire, sizeof wire - 1));
    assert_int_equal(m.topics.len, sizeof wire - 1);
    assert_true(ensi_pb_span_next(m.topics, 2, &at, &value));
    same(value, text("\x92\x80")); /* looks like the beginning of the next tag */
    assert_true(ensi_pb_span_next(m.topics, 2, &at, &value));
    same(value, text("x"));
    assert_true(ensi_pb_span_next(m.topics, 2, &at, &value));
    same(value, text("y"));
    assert_true(decodes(ensi_pb_open_stream_fields, WIRE("\x92\x80\x80\x80\x00\x81\x80\x00x"))); /* first */
}

static void a_broken_tail_ends_the_iteration(void **state)
{
    static const struct { const char *wire; size_t len; size_t whole; } spans[] = {
        { "\x12\x01x\x12", 4, 1 },                 /* no length */
        { "\x12\x01x\x12\x02y", 6, 1 },            /* one past the end */
        { "\x12\x01x\x92", 4, 1 },                 /* half a tag */
        { "\x12\x01x\x13", 4, 1 },                 /* a group */
        { "\x12\x01x\x00\x00", 5, 1 },             /* field 0 */
        { "\x12\x01x\x15\x00\x00", 6, 1 },         /* half a fixed32 */
        { "\x12\x01x\x11\x00", 5, 1 },             /* half a fixed64 */
        { "\x12\x01x\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 14, 1 }, /* 2^64 - 1 bytes */
        { "\x12\x01x\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 15, 1 }, /* 11 bytes of varint */
        { "\x88\x80\x80\x80\x10\x00", 6, 0 }       /* a tag beyond 32 bits */
    };
    (void)state;

    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++) {
        uint8_t *p = tight(bytes(spans[i].wire, spans[i].len));
        ensign_slice_t span = { p, spans[i].len };
        ensi_pb_open_stream_t m;
        ensign_slice_t value = { NULL, 77 };
        uint8_t out[32];
        size_t at = 0, len = 99;

        for (size_t n = 0; n < spans[i].whole; n++) assert_true(ensi_pb_span_next(span, 2, &at, &value));
        assert_false(ensi_pb_span_next(span, 2, &at, &value));
        assert_int_equal(at, spans[i].whole * 3);
        assert_false(ensi_pb_span_next(span, 2, &at, &value)); /* and again */
        memset(&m, 0, sizeof m);
        m.topics = span;
        assert_false(ensi_pb_encode(ensi_pb_open_stream_fields, &m, out, sizeof out, &len));
        assert_int_equal(len, 99);
        free(p);
    }
}

static void other_fields_of_a_span_are_passed_over(void **state)
{
    static const uint8_t wire[] = {
        0x10, 5, 0x15, 1, 2, 3, 4, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x1A, 0, 0x12, 1, 'x'
    };
    ensign_slice_t span = { wire, sizeof wire }, none = { NULL, 0 };
    ensign_slice_t value;
    size_t at = 0;
    (void)state;
    assert_true(ensi_pb_span_next(span, 2, &at, &value)); /* the varint of the same number too */
    same(value, text("x"));
    assert_false(ensi_pb_span_next(span, 2, &at, &value));
    at = 0;
    assert_false(ensi_pb_span_next(none, 2, &at, &value));
}

/* ---------------------------------------------------------------- bad input */

/* A field's value in each wire type; the lengths are right, so that only the type is wrong. */
static size_t put_field(uint8_t *p, uint32_t tag, unsigned wire)
{
    uint8_t *end = ensi_pb_put_varint(p, ((uint64_t)tag << 3) | wire);
    switch (wire) {
    case PB_WT_VARINT: *end++ = 1; break;
    case PB_WT_64BIT: memset(end, 1, 8); end += 8; break;
    case PB_WT_STRING: *end++ = 0; break;
    case PB_WT_32BIT: memset(end, 1, 4); end += 4; break;
    default: *end++ = (uint8_t)((tag << 3) | 4); break;
    }
    return (size_t)(end - p);
}

static unsigned wire_of(const pb_field_iter_t *field)
{
    switch (PB_LTYPE(field->type)) {
    case PB_LTYPE_BYTES: case PB_LTYPE_STRING: case PB_LTYPE_SUBMESSAGE: return PB_WT_STRING;
    case PB_LTYPE_FIXED64: return PB_WT_64BIT;
    default: return PB_HTYPE(field->type) == PB_HTYPE_REPEATED ? PB_WT_STRING : PB_WT_VARINT; /* packed */
    }
}

static void every_field_refuses_every_wrong_wire_type(void **state)
{
    size_t fields = 0;
    (void)state;

    for (size_t i = 0; i < sizeof every / sizeof every[0]; i++) {
        pb_field_iter_t field;
        any_t any;
        if (!pb_field_iter_begin(&field, every[i].fields, &any)) continue;
        do {
            for (unsigned wire = 0; wire < 6; wire++) {
                uint8_t buf[32];
                size_t len = put_field(buf, field.tag, wire);
                bool ok = decodes(every[i].fields, bytes(buf, len));
                if (ok != (wire == wire_of(&field)))
                    fail_msg("%s.%u, wire type %u", every[i].name, field.tag, wire);
            }
            fields++;
        } while (pb_field_iter_next(&field));
    }
    assert_true(fields > 150);
}

static void a_wrong_wire_type_leaves_no_dangling_slice(void **state)
{
    ensi_pb_ack_t ack;
    (void)state;
    assert_false(READ(ack, &ack, "\x08\x01"));
    assert_null(ack.id.ptr);
    assert_false(READ(ack, &ack, "\x0a\x01x\x0d\x01\x01\x01\x01"));
    same(ack.id, text("x"));
}

static void foreign_streams_are_refused(void **state)
{
    ensi_pb_ack_t ack;
    pb_istream_t in = pb_istream_from_buffer((const pb_byte_t *)"\x0a\x01x", 3);
    (void)state;
    memset(&ack, 0, sizeof ack);
    assert_false(pb_decode_ex(&in, ensi_pb_ack_fields, &ack, PB_DECODE_NOINIT));
    assert_null(ack.id.ptr);
}

static void unknown_fields_are_skipped(void **state)
{
    uint8_t wire[512], *p = wire;
    (void)state;

    for (uint32_t tag = 90; tag < 2000; tag += 400) {
        p += put_field(p, tag, PB_WT_VARINT);
        p += put_field(p, tag, PB_WT_64BIT);
        p += put_field(p, tag, PB_WT_32BIT);
        p = ensi_pb_put_bytes(p, tag, text("forty bytes are more than nanopb skips at once"));
    }
    p = ensi_pb_put_bytes(p, 1, text("id"));
    p += put_field(p, 536870911, PB_WT_VARINT); /* the largest field number */
    rewrites_to(ensi_pb_ack_fields, bytes(wire, (size_t)(p - wire)), WIRE("\x0a\x02id"));
}

static void lengths_past_the_end_are_refused(void **state)
{
    (void)state;
    assert_false(decodes(ensi_pb_ack_fields, WIRE("\x0a\x02x")));
    assert_false(decodes(ensi_pb_ack_fields, WIRE("\x0a\xff\xff\xff\xff\x0fx")));
    assert_false(decodes(ensi_pb_ack_fields, WIRE("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x")));
    assert_false(decodes(ensi_pb_ack_fields, WIRE("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xffx")));
    assert_false(decodes(ensi_pb_publisher_reply_fields, WIRE("\x0a\x03\x0a\x02x\x12\x00")));
    assert_false(decodes(ensi_pb_ack_fields, WIRE("\xfa\x3f\xff\xff\xff\xff\x0fx"))); /* an unknown field */
    assert_false(decodes(ensi_pb_ack_fields, WIRE("\x00\x00")));                          /* field 0 */
    assert_false(decodes(ensi_pb_ack_fields, WIRE("\xa3\x06\xa4\x06")));                /* a group */
}

/* Cut anywhere: read if the cut is between two fields of the outermost message, else refused. */
static void cuts(const pb_msgdesc_t *fields, ensign_slice_t wire)
{
    const uint8_t *boundary = wire.ptr;
    ensi_pb_item_t item;

    assert_true(decodes(fields, wire));
    for (size_t cut = 0; cut <= wire.len; cut++) {
        if (wire.ptr + cut > boundary) assert_true(ensi_pb_item_next(&boundary, wire.ptr + wire.len, &item));
        assert_int_equal(decodes(fields, bytes(wire.ptr, cut)), wire.ptr + cut == boundary);
    }
    assert_ptr_equal(boundary, wire.ptr + wire.len);
}

static void a_cut_message_is_refused(void **state)
{
    (void)state;
    cuts(ensi_pb_publisher_request_fields, WIRE(publish_event));
    cuts(ensi_pb_publisher_reply_fields, WIRE(publish_ready));
    cuts(ensi_pb_subscribe_request_fields, WIRE(subscribe_open));
    cuts(ensi_pb_publisher_reply_fields, bytes(ensi_pb_sample, sizeof ensi_pb_sample));
    cuts(ensi_pb_event_fields, WIRE("\x12\x02hi\x1a\x06\x0a\x01k\x12\x01v\x20\x32"
                                    "\x2a\x05\x0a\x01T\x10\x01\x7a\x02\x08\x01"));
    cuts(ensi_pb_topics_page_fields, WIRE("\x0a\x03\x1a\x01""a\x12\x01t\x0a\x03\x1a\x01""b"));
}

static void random_bytes_never_lead_outside(void **state)
{
    uint64_t seed = 20;
    (void)state;

    for (int round = 0; round < 20000; round++) {
        uint8_t wire[64];
        size_t i = (size_t)(next_random(&seed) % (sizeof every / sizeof every[0]));
        ensign_slice_t all = WIRE(publish_event);
        size_t len = (size_t)(next_random(&seed) % sizeof wire);
        memset(wire, 0, sizeof wire);
        memcpy(wire, all.ptr, all.len);
        for (int n = 0; n < 12; n++) wire[next_random(&seed) % sizeof wire] = (uint8_t)next_random(&seed);
        (void)decodes(every[i].fields, bytes(wire, len)); /* it asserts */
    }
}

/* ---------------------------------------------------------------- the writer by hand */

static void varints_have_the_size_that_is_told(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        for (int step = -1; step <= 1; step++) {
            uint64_t v = (UINT64_C(1) << bit) + (uint64_t)step, back = 0;
            uint8_t out[16];
            size_t n = (size_t)(ensi_pb_put_varint(out, v) - out);
            assert_int_equal(n, ensi_pb_varint_size(v));
            assert_ptr_equal(ensi_pb_get_varint(out, out + n, &back), out + n);
            assert_true(back == v);
            assert_null(ensi_pb_get_varint(out, out + n - 1, &back));
        }
    }
    assert_int_equal(ensi_pb_bytes_size(15, 127), 1 + 1 + 127);
    assert_int_equal(ensi_pb_bytes_size(16, 128), 2 + 2 + 128);
    assert_int_equal(ensi_pb_bytes_size(2047, 0), 2 + 1);
}

static uint8_t *put_number(uint8_t *p, uint32_t tag, uint64_t value)
{
    if (value == 0) return p;
    p = ensi_pb_put_varint(p, (uint64_t)tag << 3);
    return ensi_pb_put_varint(p, value);
}

static uint8_t *put_unless_empty(uint8_t *p, uint32_t tag, ensign_slice_t value)
{
    return value.len ? ensi_pb_put_bytes(p, tag, value) : p;
}

/* The event as a hot path writes it. */
static size_t write_event(const ensi_pb_event_t *e, uint8_t *out)
{
    uint8_t scratch[256], *p = out, *q;

    p = put_unless_empty(p, ENSI_PB_EVENT_DATA_TAG, e->data);
    if (e->metadata.len) memcpy(p, e->metadata.ptr, e->metadata.len);
    p += e->metadata.len;
    p = put_number(p, ENSI_PB_EVENT_MIMETYPE_TAG, (uint64_t)(int64_t)e->mimetype);
    if (e->has_type) {
        q = put_unless_empty(scratch, ENSI_PB_TYPE_NAME_TAG, e->type.name);
        q = put_number(q, ENSI_PB_TYPE_MAJOR_VERSION_TAG, e->type.major_version);
        q = put_number(q, ENSI_PB_TYPE_MINOR_VERSION_TAG, e->type.minor_version);
        q = put_number(q, ENSI_PB_TYPE_PATCH_VERSION_TAG, e->type.patch_version);
        p = ensi_pb_put_bytes(p, ENSI_PB_EVENT_TYPE_TAG, bytes(scratch, (size_t)(q - scratch)));
    }
    if (e->has_created) {
        q = put_number(scratch, ENSI_PB_TIMESTAMP_SECONDS_TAG, (uint64_t)e->created.seconds);
        q = put_number(q, ENSI_PB_TIMESTAMP_NANOS_TAG, (uint64_t)(int64_t)e->created.nanos);
        p = ensi_pb_put_bytes(p, ENSI_PB_EVENT_CREATED_TAG, bytes(scratch, (size_t)(q - scratch)));
    }
    return (size_t)(p - out);
}

static size_t below(uint64_t *seed, size_t n) { return (size_t)(next_random(seed) % n); }

/* A number of any magnitude, and often 0. */
static uint64_t some_number(uint64_t *seed)
{
    uint64_t shift = next_random(seed) % 80;
    return shift >= 64 ? 0 : next_random(seed) >> shift;
}

static void fill_event(ensi_pb_event_t *e, uint64_t *seed, const uint8_t *pool, uint8_t *meta)
{
    uint8_t *p = meta;

    memset(e, 0, sizeof *e);
    e->data = bytes(pool, below(seed, 300));
    for (uint64_t n = next_random(seed) % 4; n > 0; n--) {
        uint8_t entry[300], *q = ensi_pb_put_bytes(entry, 1, bytes(pool, below(seed, 20)));
        q = ensi_pb_put_bytes(q, 2, bytes(pool + 20, below(seed, 200)));
        p = ensi_pb_put_bytes(p, ENSI_PB_EVENT_METADATA_TAG, bytes(entry, (size_t)(q - entry)));
    }
    e->metadata.ptr = meta;
    e->metadata.len = (size_t)(p - meta);
    e->mimetype = (int32_t)(some_number(seed) & INT32_MAX);
    if (next_random(seed) % 8 == 0) e->mimetype = -e->mimetype;
    e->has_type = next_random(seed) % 2;
    e->type.name = bytes(pool + 7, below(seed, 140));
    e->type.major_version = (uint32_t)some_number(seed);
    e->type.minor_version = (uint32_t)some_number(seed);
    e->type.patch_version = (uint32_t)some_number(seed);
    e->has_created = next_random(seed) % 2;
    e->created.seconds = (int64_t)some_number(seed);
    e->created.nanos = (int32_t)(next_random(seed) % 1000000000);
}

static void writer_and_nanopb_agree_on_random_events(void **state)
{
    uint8_t pool[512], meta[1024], ours[2048], theirs[2048];
    uint64_t seed = 186;
    (void)state;

    for (size_t i = 0; i < sizeof pool; i++) pool[i] = (uint8_t)next_random(&seed);
    for (int round = 0; round < 1000; round++) {
        ensi_pb_event_t event, back;
        size_t n, len = 0, size = 0;
        fill_event(&event, &seed, pool, meta);
        n = write_event(&event, ours);
        assert_true(ensi_pb_encode(ensi_pb_event_fields, &event, theirs, sizeof theirs, &len));
        same(bytes(ours, n), bytes(theirs, len));
        assert_true(ensi_pb_size(ensi_pb_event_fields, &event, &size));
        assert_int_equal(size, n);
        assert_true(ensi_pb_decode(ensi_pb_event_fields, &back, ours, n));
        same(back.data, event.data);
        assert_int_equal(back.mimetype, event.mimetype);
        assert_int_equal(back.has_type, event.has_type);
        if (event.has_type) same(back.type.name, event.type.name);
        if (event.has_created) assert_true(back.created.seconds == event.created.seconds);
    }
}

static void the_library_fits_the_header(void **state)
{
    (void)state;
    assert_true(ensi_pb_check());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publish_opens_as_seen),
        cmocka_unit_test(publish_writes_an_event_as_seen),
        cmocka_unit_test(ready_is_read_and_written_as_seen),
        cmocka_unit_test(subscribe_opens_as_seen),
        cmocka_unit_test(close_stream_of_zeros_is_there),
        cmocka_unit_test(nothing_is_a_message_without_fields),
        cmocka_unit_test(decode_zeroes_the_whole_struct),
        cmocka_unit_test(wrapper_keeps_every_field),
        cmocka_unit_test(numbers_of_a_newer_server_survive),
        cmocka_unit_test(broken_utf8_is_passed_on),
        cmocka_unit_test(absent_empty_and_last),
        cmocka_unit_test(parameter_tells_zero_from_nothing),
        cmocka_unit_test(a_submessage_that_comes_twice_is_merged),
        cmocka_unit_test(one_span_never_reaches_over_two_submessages),
        cmocka_unit_test(a_span_holds_fields_that_lie_apart),
        cmocka_unit_test(two_spans_through_each_other_do_not_multiply),
        cmocka_unit_test(padded_tags_and_lengths_are_found),
        cmocka_unit_test(a_broken_tail_ends_the_iteration),
        cmocka_unit_test(other_fields_of_a_span_are_passed_over),
        cmocka_unit_test(every_field_refuses_every_wrong_wire_type),
        cmocka_unit_test(a_wrong_wire_type_leaves_no_dangling_slice),
        cmocka_unit_test(foreign_streams_are_refused),
        cmocka_unit_test(unknown_fields_are_skipped),
        cmocka_unit_test(lengths_past_the_end_are_refused),
        cmocka_unit_test(a_cut_message_is_refused),
        cmocka_unit_test(random_bytes_never_lead_outside),
        cmocka_unit_test(varints_have_the_size_that_is_told),
        cmocka_unit_test(writer_and_nanopb_agree_on_random_events),
        cmocka_unit_test(the_library_fits_the_header)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
