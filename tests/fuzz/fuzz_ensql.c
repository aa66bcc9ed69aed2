/* fuzz_ensql.c - any bytes as a query of the development server, with parameters, and as the event that it
 *                looks at
 * Input  the query, a zero byte, the span of its parameters, a zero byte, the data of an event; or in the
 *        place of the data, behind a byte of 0xff, a whole EventWrapper
 * Wants  a query that the service takes is taken, with the same meaning; what is refused has an error and
 *        holds nothing; an event is a row or is not, the same each time; the row of a list of fields can be
 *        read and has one JSON object, or the event is refused and there is none. */
#include "../../tools/ensignd/select.h"
#include "../../tools/common/utf8.h"
#include <stdlib.h>
#include <string.h>

#define WANT(x) do { if (!(x)) abort(); } while (0)

/* What the input begins with, up to a zero byte, in memory of just its size. */
static ensign_slice_t cut(const uint8_t **p, size_t *left, bool last)
{
    const uint8_t *zero = *left && !last ? (const uint8_t *)memchr(*p, 0, *left) : NULL;
    size_t n = zero ? (size_t)(zero - *p) : *left;
    uint8_t *copy = (uint8_t *)malloc(n ? n : 1);

    WANT(copy);
    if (n) memcpy(copy, *p, n);
    *p += n + (zero != NULL);
    *left -= n + (zero != NULL);
    return slice_of(copy, n);
}

static void drop(ensign_slice_t s)
{
    free((void *)(uintptr_t)s.ptr);
}

static bool same(ensign_slice_t a, ensign_slice_t b)
{
    return slice_eq(a, b);
}

/* The service has no limits, and takes numbers that are none. */
static bool may_refuse(const ensql_text_t *error)
{
    return strstr(error->text, "at most") || strstr(error->text, "not a number") ||
           strstr(error->text, "out of range") || strstr(error->text, "UTF-8");
}

static void compare(ensign_slice_t sql, bool taken, const ensql_query_t *here, const ensql_text_t *error)
{
    ensql_query_t service;
    ensql_text_t words;

    if (ensql_parse(sql, &service, &words) != ENSQL_OK) return;
    WANT(taken || may_refuse(error));
    if (!taken) return;
    WANT(same(service.topic, here->topic) && same(service.schema, here->schema));
    WANT(service.version == here->version && service.all == here->all);
    WANT(service.field_count == here->field_count && service.alias_count == here->alias_count);
    WANT(same(service.fields, here->fields) && same(service.where, here->where));
    WANT(service.test_count == here->test_count && service.offset == here->offset);
    WANT(service.has_offset == here->has_offset && service.has_limit == here->has_limit);
    WANT(service.limit == here->limit);
}

static void check_row(const select_t *s, view_t *v)
{
    buf_t row = { NULL, 0, 0, 0 };
    msg_event_wrapper_t w;
    msg_event_t e;
    json_t *o;

    if (!select_project(s, v, &row)) {
        WANT(v->refused && buf_len(&row) == 0);
        return;
    }
    WANT(!v->refused && buf_len(&row) <= SELECT_ROW_MAX);
    WANT(msg_decode(MSG_EVENT_WRAPPER, &w, buf_bytes(&row)) && msg_decode(MSG_EVENT, &e, w.event));
    o = json_loadb((const char *)e.data.ptr, e.data.len, JSON_ALLOW_NUL, NULL);
    WANT(json_is_object(o) && json_object_size(o) <= s->query.field_count && json_object_size(o) > 0);
    json_decref(o);
    buf_free(&row);
}

static bool look(const select_t *s, const msg_event_wrapper_t *w)
{
    view_t v;
    bool is;

    view_open(&v, w);
    is = select_takes(s, &v);
    WANT(!is || !v.refused);
    if (is && !s->query.all) check_row(s, &v);
    view_close(&v);
    return is;
}

static void check_event(const select_t *s, ensign_slice_t bytes)
{
    buf_t event = { NULL, 0, 0, 0 };
    msg_event_wrapper_t w;
    msg_event_t e;
    bool whole = bytes.len && bytes.ptr[0] == 0xff;

    if (whole && !msg_decode(MSG_EVENT_WRAPPER, &w, slice_of(bytes.ptr + 1, bytes.len - 1))) return;
    if (!whole) {
        memset(&w, 0, sizeof w);
        memset(&e, 0, sizeof e);
        e.data = bytes;
        WANT(msg_put(&event, MSG_EVENT, &e));
        w.event = buf_bytes(&event);
    }
    WANT(look(s, &w) == look(s, &w));
    buf_free(&event);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ensign_slice_t sql = cut(&data, &size, false), params = cut(&data, &size, false);
    ensign_slice_t event = cut(&data, &size, true);
    ensql_text_t error;
    select_t s;
    bool taken;

    if (utf8_valid(sql)) {              /* query.c has looked at that */
        taken = select_parse(sql, params, &s, &error);
        WANT(taken == (error.text[0] == '\0') && strlen(error.text) < sizeof error.text);
        WANT(taken || (!s.memory && !s.fields && !s.where.nodes && !s.where.values));
        compare(sql, taken, &s.query, &error);
        if (taken) check_event(&s, event);
        select_free(&s);
    }
    drop(sql);
    drop(params);
    drop(event);
    return 0;
}
