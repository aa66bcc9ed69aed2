/* query.c - the RPCs EnSQL and Explain; see service.h
 *
 * Owns   a cursor for each query that runs: the key of the record that was read last, and where to stop.
 * Holds  a query sees the records that there are when it comes, and those only: it ends.
 *        Rows wait in the call's queue, QUEUE_FULL bytes and one row at most. More is read from the store
 *        only when the client has taken from it, so a cursor that nobody reads costs no more than that.
 *        One refill looks at EXAMINE_MAX records at most: a long OFFSET does not hold up other calls.
 * Fails  with a status that says why; a record that cannot be read is left out, as by the service. */
#include "messages.h"
#include "ensql.h"
#include "restore.h"
#include "service.h"
#include "../common/utf8.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_BYTES 26            /* topic ULID, RLID */
#define QUEUE_FULL 65536u
#define QUEUE_LOW 32768u        /* below it, the queue is filled again */
#define EXAMINE_MAX 1024u

#define TEXT_FAILED "could not execute query"

typedef struct cursor_t {
    store_t         *store;
    call_t          *call;
    uint8_t          topic[16];
    uint8_t          after[KEY_BYTES], last[KEY_BYTES];     /* the record before the next, the final one */
    bool             begun;             /* `after` is one */
    bool             strict, limited, duplicates;
    uint64_t         skip, limit, rows;
    size_t           examined;          /* since the refill began */
    bool             done;
    bool             gone;              /* the final record is not there any more: the topic is destroyed */
    bool             stopped;           /* the scan was ended by us */
    buf_t            duplicate;         /* a record that has to be restored, once the scan is over */
} cursor_t;

/* ---- rows */

/* The service does not store when an event was committed, and so cannot tell. */
static void send_without_committed(call_t *c, msg_event_wrapper_t *w)
{
    buf_t b = { NULL, 0, 0, 0 };

    w->has_committed = false;
    if (msg_put(&b, MSG_EVENT_WRAPPER, w)) call_send(c, buf_bytes(&b));
    buf_free(&b);
}

static void send_row(cursor_t *q, msg_event_wrapper_t *w, ensign_slice_t record)
{
    if (q->strict && w->has_committed) send_without_committed(q->call, w);
    else call_send(q->call, record);
    q->rows++;
    if (q->limited && q->rows >= q->limit) q->done = true;
}

static void take_record(cursor_t *q, ensign_slice_t record)
{
    msg_event_wrapper_t w;

    if (!msg_decode(MSG_EVENT_WRAPPER, &w, record))
        log_line("query: a record cannot be read and is left out");
    else if (!w.is_duplicate)
        send_row(q, &w, record);
    else if (q->duplicates)
        buf_put(&q->duplicate, record.ptr, record.len);
}

static bool on_record(void *user, ensign_slice_t key, ensign_slice_t record)
{
    cursor_t *q = user;

    if (key.len != KEY_BYTES) return true;
    memcpy(q->after, key.ptr, KEY_BYTES);
    q->begun = true;
    q->examined++;
    if (memcmp(q->after, q->last, KEY_BYTES) >= 0) q->done = true;
    if (memcmp(q->after, q->last, KEY_BYTES) > 0) return false;     /* younger than the query */
    if (q->skip) q->skip--;
    else take_record(q, record);
    q->stopped = q->done || buf_len(&q->duplicate) || q->examined >= EXAMINE_MAX ||
                 buf_len(&q->call->out) >= QUEUE_FULL;
    return !q->stopped;
}

/* One whose original is gone is left out, as by the service. */
static bool send_duplicate(cursor_t *q, why_t *why)
{
    buf_t original = { NULL, 0, 0, 0 }, row = { NULL, 0, 0, 0 };
    ensign_slice_t record = buf_bytes(&q->duplicate);
    uint8_t key[KEY_BYTES];
    msg_event_wrapper_t w;
    bool ok = true;

    msg_decode(MSG_EVENT_WRAPPER, &w, record);   /* it could be before */
    memcpy(key, q->topic, sizeof q->topic);
    if (w.duplicate_id.len == KEY_BYTES - sizeof q->topic) {
        memcpy(key + sizeof q->topic, w.duplicate_id.ptr, w.duplicate_id.len);
        ok = store_get(q->store, STORE_EVENT, slice_of(key, sizeof key), &original, why);
    }
    if (ok && buf_len(&original) && restore_duplicate(record, buf_bytes(&original), &row) &&
        msg_decode(MSG_EVENT_WRAPPER, &w, buf_bytes(&row)))
        send_row(q, &w, buf_bytes(&row));
    q->duplicate.start = q->duplicate.end = 0;
    buf_free(&original);
    buf_free(&row);
    return ok;
}

static bool read_page(cursor_t *q, why_t *why)
{
    ensign_slice_t after = slice_of(q->after, q->begun ? KEY_BYTES : 0);

    q->stopped = false;
    if (!store_scan(q->store, STORE_EVENT, slice_of(q->topic, sizeof q->topic), after, on_record, q, why))
        return false;
    q->gone = !q->stopped && !q->done && !q->strict;
    if (!q->stopped) q->done = true;
    return buf_len(&q->duplicate) == 0 || send_duplicate(q, why);
}

static void refill(void *user, call_t *c)
{
    cursor_t *q = c->state;
    why_t why;
    (void)user;

    q->examined = 0;
    while (!q->done && q->examined < EXAMINE_MAX && buf_len(&c->out) < QUEUE_FULL) {
        if (read_page(q, &why)) continue;
        log_line("query: %s", why.text);
        call_end(c, GRPC_INTERNAL, TEXT_FAILED);
        return;
    }
    if (q->gone) call_end(c, GRPC_ABORTED, "topic destroyed while the query ran; rows are missing");
    else if (q->done) call_end(c, GRPC_OK, NULL);
}

/* ---- the query */

static bool params_are_read(ensign_slice_t params)
{
    msg_parameter_t p;
    ensign_slice_t item;
    size_t at = 0;

    while (msg_next(params, MSG_QUERY_PARAMS_TAG, &at, &item))
        if (!msg_decode(MSG_PARAMETER, &p, item) || !utf8_valid(p.s) || !utf8_valid(p.name))
            return false;
    return true;
}

static bool declined(call_t *c, int status, const char *text)
{
    call_end(c, status, text);
    return false;
}

/* False: there is nothing to execute, and the call has its status. */
static bool read_query(service_t *s, call_t *c, ensign_slice_t message, msg_query_t *request,
                       ensql_query_t *query, topic_t **topic)
{
    ensql_text_t error;
    ensql_result_t result;

    if (!msg_decode(MSG_QUERY, request, message) || !params_are_read(request->params) ||
        !utf8_valid(request->query))
        return declined(c, GRPC_INTERNAL, TEXT_BAD_MESSAGE);
    if (!c->claims.has_project) return declined(c, GRPC_PERMISSION_DENIED, TEXT_PERMISSION);
    if (request->query.len == 0) return declined(c, GRPC_INVALID_ARGUMENT, "invalid query");
    result = ensql_parse(request->query, query, &error);
    if (result == ENSQL_CRASH && s->strict) return declined(c, GRPC_OK, NULL);
    if (result != ENSQL_OK) return declined(c, GRPC_INVALID_ARGUMENT, error.text);
    *topic = topics_by_name(s->topics, &c->claims.project, query->topic);
    return *topic || declined(c, GRPC_INVALID_ARGUMENT, "unknown topic in query");
}

/* False: the store failed. Without records, and with a limit of nothing, the cursor is done. */
static bool open_cursor(cursor_t *q, const ensql_query_t *query)
{
    buf_t key = { NULL, 0, 0, 0 };
    why_t why;
    bool ok = store_tail(q->store, STORE_EVENT, slice_of(q->topic, sizeof q->topic), &key, &why);

    if (!ok) log_line("query: %s", why.text);
    if (buf_len(&key) == KEY_BYTES) memcpy(q->last, key.ptr, KEY_BYTES);
    else q->done = true;
    buf_free(&key);
    q->skip = query->offset;
    q->limited = query->has_limit;
    q->limit = query->limit;
    if (q->limited && q->limit == 0 && !q->strict) q->done = true;
    return ok;
}

void rpc_ensql(service_t *s, call_t *c, ensign_slice_t message)
{
    msg_query_t request;
    ensql_query_t query;
    topic_t *topic;
    cursor_t *q;

    if (c->state) return;       /* one request is all that there is to it */
    if (!read_query(s, c, message, &request, &query, &topic)) return;
    q = x_alloc(sizeof *q);
    q->store = s->topics->store;
    q->strict = s->strict;
    q->call = c;
    memcpy(q->topic, topic->id.b, sizeof q->topic);
    q->duplicates = request.include_duplicates;
    c->state = q;
    if (!open_cursor(q, &query)) {
        call_end(c, GRPC_INTERNAL, TEXT_FAILED);
        return;
    }
    log_line("%s: query of topic %s", c->peer, topic->name);
    c->refill_below = QUEUE_LOW;
    c->refill = refill;
}

void ensql_half_close(service_t *s, call_t *c)
{
    (void)s;
    if (!c->state) call_end(c, GRPC_INTERNAL, "grpc: the request message is missing");
}

void ensql_closed(service_t *s, call_t *c)
{
    cursor_t *q = c->state;
    (void)s;

    if (!q) return;
    c->state = NULL;
    log_line("%s: query over: %llu rows", c->peer, (unsigned long long)q->rows);
    buf_free(&q->duplicate);
    free(q);
}

/* ---- Explain */

typedef struct plan_t { char text[1000]; size_t len; } plan_t;

static void add(plan_t *p, const char *format, ...)
{
    size_t room = sizeof p->text - p->len;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(p->text + p->len, room, format, args);
    va_end(args);
    if (n > 0) p->len += (size_t)n < room ? (size_t)n : room - 1;
}

static void describe(plan_t *p, const topic_t *topic, const ensql_query_t *q, bool duplicates)
{
    char id[ULID_TEXT + 1];

    ulid_text(&topic->id, id);
    add(p, "reads topic %s (%s) in the order of its commits", topic->name, id);
    if (q->offset) add(p, ", skips %llu records", (unsigned long long)q->offset);
    add(p, duplicates ? ", restores duplicates" : ", leaves out duplicates");
    if (q->has_limit) add(p, ", ends after %llu rows", (unsigned long long)q->limit);
    if (!q->all) add(p, "; whole events, not the %zu fields alone", q->field_count);
    if (q->schema.len) add(p, "; of any schema%s", q->version ? " and version" : "");
    if (q->test_count) add(p, "; WHERE is not applied (conditions: %zu)", q->test_count);
}

/* The service does not answer it yet, and its message has no field for a plan. Here the status says whether
   the query would run; with OK its text tells how. */
void rpc_explain(service_t *s, call_t *c, ensign_slice_t message)
{
    plan_t plan = { "", 0 };
    msg_query_t request;
    ensql_query_t query;
    topic_t *topic;

    if (s->strict) {
        if (!c->claims.has_project) call_end(c, GRPC_PERMISSION_DENIED, TEXT_PERMISSION);
        else call_end(c, GRPC_UNIMPLEMENTED, "explain query is not implemented yet");
        return;
    }
    if (!read_query(s, c, message, &request, &query, &topic)) return;
    describe(&plan, topic, &query, request.include_duplicates);
    call_send(c, slice_of(NULL, 0));
    call_end(c, GRPC_OK, plan.text);
}
