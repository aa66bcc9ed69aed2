/* wire.c - the hot messages by hand: the same bytes as nanopb's, and the same meaning of any bytes */
#include "bare.h"
#include "../fuzz/same.h"

static int setup(void **state)
{
    ensign_desc_t d = bare_desc();
    (void)state;
    return bare_setup(&d);
}

/* ---------------------------------------------------------------- writers */

static uint8_t pool[4096];

static ensign_slice_t some(uint32_t max)
{
    uint32_t n = below(3) ? below(max) : 0;
    for (uint32_t i = 0; i < n; i++) pool[i] = (uint8_t)('a' + below(26));
    return ensi_slice(pool + below(64), n > 64 ? n - 64 : n);
}

static int32_t number(void)
{
    static const int32_t odd[] = { 0, 1, 127, 128, 16384, -1, INT32_MIN, INT32_MAX };
    return below(2) ? odd[below(ENSI_COUNT(odd))] : (int32_t)below(1000);
}

/* What nanopb makes of the same event. */
static size_t reference(const ensign_event_t *e, ensign_time_t created,
                        const ensi_pb_encryption_t *encryption, int32_t level, const uint8_t *id,
                        uint8_t *out, size_t cap)
{
    static uint8_t metadata[8192], event[32768];
    ensi_pb_event_t inner;
    ensi_pb_publisher_request_t m;
    uint8_t *p = metadata;
    size_t len = 0;
    memset(&inner, 0, sizeof inner);
    memset(&m, 0, sizeof m);
    if (e->metadata.len) memcpy(p, e->metadata.ptr, e->metadata.len);
    p += e->metadata.len;
    for (size_t i = 0; i < e->pair_count; i++) {
        ensi_pb_event_metadata_entry_t pair;
        uint8_t one[512];
        pair.key = ensign_str(e->pairs[i].key);
        pair.value = ensign_str(e->pairs[i].value);
        assert_true(ensi_pb_encode(ensi_pb_event_metadata_entry_fields, &pair, one, sizeof one, &len));
        p = ensi_pb_put_bytes(p, 3, ensi_slice(one, len));
    }
    inner.data = e->data;
    inner.metadata.ptr = metadata;
    inner.metadata.len = (size_t)(p - metadata);
    inner.mimetype = e->mimetype;
    inner.type.name = e->type.name;
    inner.type.major_version = e->type.major;
    inner.type.minor_version = e->type.minor;
    inner.type.patch_version = e->type.patch;
    inner.has_type = e->type.name.len || e->type.major || e->type.minor || e->type.patch;
    inner.created.seconds = created.seconds;
    inner.created.nanos = created.nanos;
    inner.has_created = created.seconds || created.nanos;
    assert_true(ensi_pb_encode(ensi_pb_event_fields, &inner, event, sizeof event, &len));
    m.has_event = true;
    m.event.topic_id = ensi_slice(e->to_topic_id.b, sizeof e->to_topic_id.b);
    m.event.key = e->key;
    m.event.event = ensi_slice(event, len);
    m.event.has_encryption = e->encryption.len > 0;
    m.event.encryption = *encryption;
    m.event.has_compression = e->compression.len > 0;
    m.event.compression.level = level;
    m.event.local_id = ensi_slice(id, ENSI_WIRE_LOCAL_ID);
    assert_true(ensi_pb_encode(ensi_pb_publisher_request_fields, &m, out, cap, &len));
    return len;
}

static void one_random_event(bool empty)
{
    static uint8_t ours[65536], theirs[65536], forwarded[4096], encrypted[256], compressed[32];
    static char texts[8][64];
    ensign_pair_t pairs[4];
    ensi_pb_encryption_t encryption;
    ensi_pb_compression_t compression;
    ensi_wire_sizes_t sizes;
    ensi_wire_stamp_t stamp;
    ensign_event_t e;
    ensign_time_t created;
    uint8_t id[ENSI_WIRE_LOCAL_ID], *p = forwarded;
    size_t len = 0;
    memset(&e, 0, sizeof e);
    memset(&encryption, 0, sizeof encryption);
    memset(&compression, 0, sizeof compression);
    created.seconds = 0;
    created.nanos = 0;
    for (size_t i = 0; i < sizeof id; i++) id[i] = (uint8_t)below(256);
    if (!empty) {
        e.data = some(below(20) ? 200 : 4000);
        e.mimetype = number();
        e.type.name = some(40);
        e.type.major = (uint32_t)number();
        e.type.minor = (uint32_t)number();
        e.type.patch = below(3);
        e.key = some(20);
        created.seconds = below(3) ? number() : (int64_t)-62135596800;
        created.nanos = number();
        for (size_t i = 0; i < sizeof e.to_topic_id.b; i++) e.to_topic_id.b[i] = (uint8_t)below(256);
        for (uint32_t n = below(4); n > 0; n--) p = ensi_pb_put_bytes(p, 3, some(100));
        e.metadata = ensi_slice(forwarded, (size_t)(p - forwarded));
        e.pairs = pairs;
        e.pair_count = below(5);
        for (size_t i = 0; i < 4; i++) {
            memset(texts[i], 'k', 50);
            texts[i][below(50)] = '\0';
            snprintf(texts[i + 4], 64, "%.*s", (int)below(9), "vvvvvvvv");
            pairs[i].key = texts[i];
            pairs[i].value = below(4) ? texts[i + 4] : NULL;
        }
        encryption.public_key_id = below(2) ? ensign_str("key") : ensi_slice(NULL, 0);
        encryption.sealing_algorithm = number();
        assert_true(
            ensi_pb_encode(ensi_pb_encryption_fields, &encryption, encrypted, sizeof encrypted, &len));
        e.encryption = ensi_slice(encrypted, len);
        compression.level = number();
        assert_true(
            ensi_pb_encode(ensi_pb_compression_fields, &compression, compressed, sizeof compressed, &len));
        e.compression = ensi_slice(compressed, len);
    }
    len = reference(&e, created, &encryption, (int32_t)compression.level, id, theirs, sizeof theirs);
    ensi_wire_stamp(&stamp, created);
    sizes = ensi_wire_measure(&e, &stamp);
    assert_int_equal(sizes.request, len);
    ensi_wire_put_request(ours, &e, &sizes, &stamp, id);
    assert_memory_equal(ours, theirs, len);
}

static void the_encoder_writes_what_nanopb_writes(void **state)
{
    (void)state;
    seed = 42;
    one_random_event(true);
    for (int i = 0; i < 2000; i++) one_random_event(false);
}

/* Of forwarded metadata only the pairs are taken, whatever else the slice holds. */
static void broken_metadata_is_cut(void **state)
{
    static const uint8_t bytes[] = { 0x1A, 2, 0x0A, 0, 0x08, 1, 0x1A, 0, 0x1A, 0x7F, 1 };
    uint8_t out[16];
    ensign_event_t e;
    (void)state;
    memset(&e, 0, sizeof e);
    e.metadata = ensi_slice(bytes, sizeof bytes);
    assert_int_equal(ensi_wire_metadata_size(&e), 6);
    assert_ptr_equal(ensi_wire_put_metadata(out, &e), out + 6);
    assert_memory_equal(out, "\x1A\x02\x0A\x00\x1A\x00", 6);
}

/* ---------------------------------------------------------------- readers */

typedef struct bytes_t { size_t len; uint8_t at[2048]; } bytes_t;

static void add(bytes_t *b, const void *p, size_t n)
{
    assert_true(b->len + n <= sizeof b->at);
    memcpy(b->at + b->len, p, n);
    b->len += n;
}

static void add_number(bytes_t *b, uint32_t tag, uint64_t v)
{
    uint8_t out[20];
    add(b, out, (size_t)(ensi_pb_put_varint(ensi_pb_put_varint(out, tag << 3), v) - out));
}

static void add_bytes(bytes_t *b, uint32_t tag, const void *p, size_t n)
{
    uint8_t out[20];
    add(b, out, (size_t)(ensi_pb_put_head(out, tag, n) - out));
    add(b, p, n);
}

static uint64_t random_number(void)
{
    static const uint64_t odd[] = { 0, 1, 127, 128, 16383, 16384, INT32_MAX, (uint64_t)INT32_MAX + 1, UINT32_MAX,
                                    (uint64_t)UINT32_MAX + 1, INT64_MAX, UINT64_MAX, (uint64_t)-5 };
    return below(4) ? below(1000) : odd[below(COUNT(odd))];
}

static void random_time(bytes_t *b)
{
    if (below(8)) add_number(b, 1, below(4) ? 1700000000 + below(1000000) : random_number());
    if (below(8)) add_number(b, 2, below(4) ? below(1000) * 1000000u : random_number());
}

/* A field of any of the messages, as a server would send it, with something odd now and then. */
static void random_field(bytes_t *b, uint32_t tag, int depth);

static void random_message(bytes_t *b, uint32_t fields, uint32_t tags, int depth)
{
    for (uint32_t i = 0; i < fields; i++) random_field(b, below(6) ? i + 1 : 1 + below(tags), depth);
}

static void random_field(bytes_t *b, uint32_t tag, int depth)
{
    static const uint8_t text[40] = "forty bytes of text are more than enough";
    bytes_t inner;
    inner.len = 0;
    if (b->len > 900) return;
    switch (below(12)) {
    case 0: case 1: case 2: add_number(b, tag, random_number()); return;
    case 3: case 4: case 5: add_bytes(b, tag, text, below(sizeof text)); return;
    case 6: add_bytes(b, tag, text, below(2) ? 10 : 16); return;
    case 7: case 8: random_time(&inner); break;
    default:
        if (depth > 0) random_message(&inner, below(7), 17, depth - 1);
        break;
    }
    add_bytes(b, tag, inner.at, inner.len);
}

/* An event as servers send it: the fields in their order, some left out. */
static void usual_event(bytes_t *b, bool bare)
{
    static const char *const texts[] = { "01H1PA4FA9G2Y79Z5FC36CWYYJ", "127.0.0.1:4444", "client", "agent/1.0" };
    bytes_t event, wrapper, part;
    event.len = wrapper.len = part.len = 0;
    if (below(8)) add_bytes(&event, 2, "some data", below(9));
    for (uint32_t i = below(3); i > 0; i--) add_bytes(&event, 3, "\x0A\x01k\x12\x01v", 6);
    if (below(4)) add_number(&event, 4, below(60));
    if (below(4)) {
        add_bytes(&part, 1, "Type", 4);
        for (uint32_t i = 2; i < 5; i++) add_number(&part, i, below(300));
        add_bytes(&event, 5, part.at, part.len);
    }
    part.len = 0;
    random_time(&part);
    if (below(4)) add_bytes(&event, 15, part.at, part.len);
    add_bytes(&wrapper, 1, "0123456789", 10);
    add_bytes(&wrapper, 2, "0123456789abcdef", 16);
    if (below(2)) add_number(&wrapper, 3, random_number());
    if (below(2)) add_number(&wrapper, 4, random_number());
    if (below(4) == 0) add_number(&wrapper, 5, below(30));
    part.len = 0;
    for (uint32_t i = 0; i < 4; i++)
        if (below(4)) add_bytes(&part, i + 1, texts[i], strlen(texts[i]));
    if (below(4)) add_bytes(&wrapper, 6, part.at, part.len);
    if (below(4) == 0) add_bytes(&wrapper, 7, "key", 3);
    add_bytes(&wrapper, 9, event.at, event.len);
    part.len = 0;
    random_time(&part);
    if (below(2)) add_bytes(&wrapper, 15, part.at, part.len);
    if (bare) add(b, wrapper.at, wrapper.len);
    else add_bytes(b, 1, wrapper.at, wrapper.len);
}

/* Some bits turned, bytes cut, doubled or put in. */
static void mutate(bytes_t *b)
{
    for (uint32_t n = 1 + below(3); n > 0 && b->len > 0 && b->len < 1000; n--) {
        size_t at = below((uint32_t)b->len);
        switch (below(5)) {
        case 0: b->at[at] ^= (uint8_t)(1u << below(8)); break;
        case 1: b->at[at] = (uint8_t)below(256); break;
        case 2: b->len = at; break;
        case 3:
            memmove(b->at + at + 1, b->at + at, b->len - at);
            b->len++;
            break;
        default:
            memmove(b->at + at, b->at + at + 1, b->len - at - 1);
            b->len--;
            break;
        }
    }
}

/* In memory of its own, so that a sanitizer sees a read past its end. */
static void compare(const bytes_t *b, int as, uint32_t *taken)
{
    uint8_t *copy = (uint8_t *)malloc(b->len + 1);
    assert_non_null(copy);
    memcpy(copy, b->at, b->len);
    *taken += as == 0 ? compare_ack(ensi_slice(copy, b->len)) : compare_event(ensi_slice(copy, b->len), as == 2);
    free(copy);
}

static void any_bytes_mean_what_nanopb_says(void **state)
{
    uint32_t odd = 0;
    (void)state;
    seed = 7;
    for (uint32_t i = 0; i < 200000; i++) {
        bytes_t b, whole;
        b.len = whole.len = 0;
        random_message(&b, below(10), 17, 3);
        if (below(2)) add_bytes(&whole, 1, b.at, b.len);
        else whole = b;
        if (below(3) == 0) mutate(&whole);
        for (int as = 0; as < 3; as++) compare(&whole, as, &odd);
    }
    assert_true(odd > 1000); /* the readers took part */
}

static void what_servers_send_is_read_by_hand(void **state)
{
    uint32_t taken = 0, changed = 0;
    (void)state;
    seed = 11;
    for (uint32_t i = 0; i < 100000; i++) {
        bytes_t b;
        b.len = 0;
        usual_event(&b, i % 2);
        compare(&b, i % 2 ? 2 : 1, &taken);
        mutate(&b);
        compare(&b, i % 2 ? 2 : 1, &changed);
    }
    assert_true(taken > 80000);
    assert_true(changed > 1000 && changed < taken);
}

static void acks_are_read_by_hand(void **state)
{
    uint32_t taken = 0, changed = 0;
    (void)state;
    seed = 13;
    for (uint32_t i = 0; i < 100000; i++) {
        bytes_t b, ack, committed;
        b.len = ack.len = committed.len = 0;
        random_time(&committed);
        add_bytes(&ack, 1, "0123456789abcdef", 16);
        if (below(8)) add_bytes(&ack, 2, committed.at, committed.len);
        add_bytes(&b, 1, ack.at, ack.len);
        compare(&b, 0, &taken);
        mutate(&b);
        compare(&b, 0, &changed);
    }
    assert_true(taken > 60000);
    assert_true(changed > 1000 && changed < taken);
}

/* What is left to nanopb, by name: each is refused by wire, whether nanopb takes it or not. */
static void what_is_unusual_is_left_to_nanopb(void **state)
{
    static const struct { const char *what; size_t len; const char *bytes; bool valid; } rows[] = {
        { "an unknown field",               6, "\x0A\x04\x72\x00\x0A\x00", true },
        { "a tag of two bytes: local_id",   7, "\x0A\x05\x82\x01\x02xy", true },
        { "bytes where a number is due",    5, "\x0A\x03\x1A\x01x", false },
        { "a field that comes twice",       8, "\x0A\x06\x18\x01\x0A\x00\x18\x02", true },
        { "a submessage that comes twice",  6, "\x0A\x04\x32\x00\x32\x00", true },
        { "an overlong varint",             5, "\x0A\x03\x18\x81\x00", true },
        { "an overlong length",             6, "\x0A\x84\x00\x18\x01\x00", false },
        { "a group",                        4, "\x0A\x02\x1B\x1C", false },
        { "field 0",                        4, "\x0A\x02\x00\x01", false },
        { "a length past the end",          4, "\x0A\x03\x18\x01", false },
        { "a number past the end",          4, "\x0A\x02\x18\x81", false },
        { "an event and something more",    4, "\x0A\x00\x12\x00", true },
        { "no event at all",                2, "\x12\x00", true },
        { "nothing",                        0, "", true },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        ensi_pb_subscribe_reply_t m;
        ensign_slice_t bytes = ensi_slice(rows[i].bytes, rows[i].len);
        bool valid = ensi_pb_decode(ensi_pb_subscribe_reply_fields, &m, bytes.ptr, bytes.len);
        if (valid != rows[i].valid || compare_event(bytes, false))
            fail_msg("%s: nanopb %s it", rows[i].what, valid ? "takes" : "refuses");
    }
}

static void a_receipt_is_what_nanopb_writes(void **state)
{
    uint8_t ours[64], theirs[64], rlid[ENSI_WIRE_RLID];
    ensi_pb_subscribe_request_t m;
    size_t len = 0;
    (void)state;
    for (size_t i = 0; i < sizeof rlid; i++) rlid[i] = (uint8_t)(250 + i);
    memset(&m, 0, sizeof m);
    m.has_ack = true;
    m.ack.id = ensi_slice(rlid, sizeof rlid);
    assert_true(ensi_pb_encode(ensi_pb_subscribe_request_fields, &m, theirs, sizeof theirs, &len));
    assert_int_equal(ensi_wire_put_receipt(ours, rlid) - ours, len);
    assert_int_equal(len, ENSI_WIRE_RECEIPT_BYTES);
    assert_memory_equal(ours, theirs, len);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        BARE_TEST(the_encoder_writes_what_nanopb_writes),
        cmocka_unit_test(broken_metadata_is_cut),
        cmocka_unit_test(a_receipt_is_what_nanopb_writes),
        cmocka_unit_test(any_bytes_mean_what_nanopb_says),
        cmocka_unit_test(what_servers_send_is_read_by_hand),
        cmocka_unit_test(acks_are_read_by_hand),
        cmocka_unit_test(what_is_unusual_is_left_to_nanopb),
    };
    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
