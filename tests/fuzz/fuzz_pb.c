/* fuzz_pb.c - any bytes as any of the messages that a peer sends
 * Asks   that every slice lies inside the input, that what was read can be written, and that what was written
 *        is read and written as the same bytes again; for the messages inside of spans too. */
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX 4096
#define OUTPUT_MAX (2 * INPUT_MAX) /* a padded or merged input grows only by a few length bytes */

/* What lies inside a span, and what inside of that, is tried as well. */
typedef struct probe_t { const pb_msgdesc_t *owner; uint32_t tag; const pb_msgdesc_t *inner; } probe_t;

static const probe_t probes[] = {
    { ensi_pb_stream_ready_fields, ENSI_PB_STREAM_READY_TOPICS_TAG,
      ensi_pb_stream_ready_topics_entry_fields },
    { ensi_pb_topics_page_fields, ENSI_PB_TOPICS_PAGE_TOPICS_TAG, ensi_pb_topic_fields },
    { ensi_pb_topic_fields, ENSI_PB_TOPIC_TYPES_TAG, ensi_pb_type_fields },
    { ensi_pb_topic_names_page_fields, ENSI_PB_TOPIC_NAMES_PAGE_TOPIC_NAMES_TAG, ensi_pb_topic_name_fields },
    { ensi_pb_event_fields, ENSI_PB_EVENT_METADATA_TAG, ensi_pb_event_metadata_entry_fields },
    { ensi_pb_query_fields, ENSI_PB_QUERY_PARAMS_TAG, ensi_pb_parameter_fields }
};

typedef union {
    ensi_pb_publisher_reply_t a;
    ensi_pb_subscribe_reply_t b;
    ensi_pb_subscribe_request_t c;
    ensi_pb_topics_page_t d;
    ensi_pb_topic_names_page_t e;
    ensi_pb_topic_t f;
    ensi_pb_event_t g;
    ensi_pb_parameter_t h;
} any_t;

static void want(bool truth)
{
    if (!truth) abort();
}

static void try_message(const pb_msgdesc_t *fields, const uint8_t *data, size_t size);

static void try_span(const pb_msgdesc_t *owner, uint32_t tag, ensign_slice_t span)
{
    ensign_slice_t value;
    size_t at = 0;

    for (size_t i = 0; i < sizeof probes / sizeof probes[0]; i++) {
        if (probes[i].owner != owner || probes[i].tag != tag) continue;
        while (ensi_pb_span_next(span, tag, &at, &value)) try_message(probes[i].inner, value.ptr, value.len);
        want(at == span.len); /* a decoded span has no broken tail */
    }
}

static void slices_lie_inside(const pb_msgdesc_t *fields, void *message, const uint8_t *data, size_t size)
{
    pb_field_iter_t field;

    if (!pb_field_iter_begin(&field, fields, message)) return;
    do {
        if (PB_ATYPE(field.type) == PB_ATYPE_CALLBACK) {
            ensign_slice_t span = *(const ensign_slice_t *)field.pData;
            want(span.ptr ? span.ptr >= data && span.ptr <= data + size : span.len == 0);
            want(!span.ptr || span.len <= (size_t)(data + size - span.ptr));
            if (PB_HTYPE(field.type) == PB_HTYPE_REPEATED) try_span(fields, field.tag, span);
        } else if (PB_LTYPE_IS_SUBMSG(field.type)) {
            slices_lie_inside(field.submsg_desc, field.pData, data, size);
        }
    } while (pb_field_iter_next(&field));
}

static void try_message(const pb_msgdesc_t *fields, const uint8_t *data, size_t size)
{
    uint8_t first[OUTPUT_MAX], second[OUTPUT_MAX];
    size_t first_len = 0, second_len = 0, told = 0;
    any_t message;
    bool ok = ensi_pb_decode(fields, &message, data, size);

    slices_lie_inside(fields, &message, data, size); /* after a failure too */
    if (!ok) return;
    want(ensi_pb_size(fields, &message, &told));
    want(ensi_pb_encode(fields, &message, first, sizeof first, &first_len));
    want(told == first_len);
    want(ensi_pb_decode(fields, &message, first, first_len));
    want(ensi_pb_encode(fields, &message, second, sizeof second, &second_len));
    want(second_len == first_len && memcmp(first, second, first_len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const pb_msgdesc_t *const roots[] = {
        ensi_pb_publisher_reply_fields, ensi_pb_subscribe_reply_fields, ensi_pb_subscribe_request_fields,
        ensi_pb_topics_page_fields, ensi_pb_topic_names_page_fields, ensi_pb_event_fields
    };

    if (size > INPUT_MAX) return 0;
    for (size_t i = 0; i < sizeof roots / sizeof roots[0]; i++) try_message(roots[i], data, size);
    return 0;
}
