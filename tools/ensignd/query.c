/* query.c - the RPCs EnSQL and Explain; see service.h
 *
 * Owns   a cursor for each query that runs: the key of the record that was read last, and where to stop.
 * Holds  a query sees the records that there are when it comes, and those only: it ends.
 *        Rows wait in the call's queue, QUEUE_FULL bytes and one row at most. More is read from the store
 *        only when the client has taken from it, so a cursor that nobody reads costs no more than that.
 *        One refill looks at EXAMINE_MAX records at most: a long OFFSET does not hold up other calls.
 *        A query with WHERE or a list of fields may look at a million events for one row. It reads as a job,
 *        until its queue is full: all such queries together have the jobs' share of a turn of the loop. A
 *        slice ends when the work for its events is WALK_WORK; what one event may cost has limits (field.h,
 *        select.h), and a query that passes one of them ends there.
 * Counts OFFSET of a plain query skips stored records, also duplicates that it does not give, as the service
 *        does. With WHERE or a list of fields, OFFSET and LIMIT count rows.
 * Fails  with a status that says why; a record that cannot be read is left out, as by the service. */
#include "messages.h"
#include "numbers.h"
#include "restore.h"
#include "select.h"
#include "../common/utf8.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_FULL 65536u
#define QUEUE_LOW 32768u        /* below it, the queue is filled again */
#define EXAMINE_MAX 1024u

#define TEXT_FAILED "could not execute query"

typedef struct cursor_t {
    job_t            job;               /* of a query that is not plain */
    bool             queued;            /* the job is in the list, and frees the cursor of a call that ended */
    store_t         *store;
    call_t          *call;              /* NULL: gone */
    select_t         select;            /* strict: its texts have gone with the message */
    uint8_t          topic[16];
    uint8_t          after[EVENT_KEY], last[EVENT_KEY];     /* the record before the next, the final one */
    bool             begun;             /* `after` is one */
    bool             plain, strict, limited, duplicates;
    uint64_t         skip, limit, rows;
    size_t           examined, bytes, work;     /* since the refill began, or the job's step */
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

static void send_fields(cursor_t *q, view_t *v)
{
    buf_t row = { NULL, 0, 0, 0 };

    if (select_project(&q->select, v, &row)) send_row(q, NULL, buf_bytes(&row));
    buf_free(&row);
}

/* Ends the query at an event that it cannot go on with. */
static void refuse_event(cursor_t *q, view_t *v)
{
    static const field_t id_field = { OWN_ID, NULL, 0, NULL };
    ensign_slice_t id = view_value(v, &id_field).text;
    char text[400];

    snprintf(text, sizeof text,
             "the query ended at the event with @id '%.*s': %s; WHERE @id != '%.*s' AND ... leaves it out",
             (int)id.len, (const char *)id.ptr, v->refused, (int)id.len, (const char *)id.ptr);
    call_end(q->call, GRPC_RESOURCE_EXHAUSTED, text);
    q->done = true;
}

/* A row of a query that is not plain, if the event is one. */
static void choose(cursor_t *q, msg_event_wrapper_t *w, ensign_slice_t record)
{
    view_t v;

    view_open(&v, w);
    if (select_takes(&q->select, &v)) {
        if (q->skip) q->skip--;
        else if (q->select.query.all) send_row(q, w, record);
        else send_fields(q, &v);
    }
    if (v.refused) refuse_event(q, &v);
    q->work += v.work;
    view_close(&v);
}

static void give(cursor_t *q, msg_event_wrapper_t *w, ensign_slice_t record)
{
    if (q->plain) send_row(q, w, record);
    else choose(q, w, record);
}

static void take_record(cursor_t *q, ensign_slice_t record)
{
    msg_event_wrapper_t w;

    if (q->plain && q->skip) q->skip--;
    else if (!msg_decode(MSG_EVENT_WRAPPER, &w, record))
        log_line("query: a record cannot be read and is left out");
    else if (!w.is_duplicate)
        give(q, &w, record);
    else if (q->duplicates)
        buf_put(&q->duplicate, record.ptr, record.len);
}

static bool slice_is_over(const cursor_t *q)
{
    if (buf_len(&q->call->out) >= QUEUE_FULL) return true;
    if (q->plain) return q->examined >= EXAMINE_MAX;
    return q->examined >= WALK_RECORDS || q->bytes >= WALK_BYTES || q->work >= WALK_WORK;
}

static bool on_record(void *user, ensign_slice_t key, ensign_slice_t record)
{
    cursor_t *q = user;

    if (key.len != EVENT_KEY) return true;
    memcpy(q->after, key.ptr, EVENT_KEY);
    q->begun = true;
    q->examined++;
    q->bytes += record.len;
    if (memcmp(q->after, q->last, EVENT_KEY) >= 0) q->done = true;
    if (memcmp(q->after, q->last, EVENT_KEY) > 0) return false;     /* younger than the query */
    take_record(q, record);
    q->stopped = q->done || buf_len(&q->duplicate) || slice_is_over(q);
    return !q->stopped;
}

/* One whose original is gone is left out, as by the service. */
static bool send_duplicate(cursor_t *q, why_t *why)
{
    buf_t original = { NULL, 0, 0, 0 }, row = { NULL, 0, 0, 0 };
    ensign_slice_t record = buf_bytes(&q->duplicate);
    uint8_t key[EVENT_KEY];
    msg_event_wrapper_t w;
    bool ok = true;

    msg_decode(MSG_EVENT_WRAPPER, &w, record);   /* it could be before */
    memcpy(key, q->topic, sizeof q->topic);
    if (w.duplicate_id.len == EVENT_KEY - sizeof q->topic) {
        memcpy(key + sizeof q->topic, w.duplicate_id.ptr, w.duplicate_id.len);
        ok = store_get(q->store, STORE_EVENT, slice_of(key, sizeof key), &original, why);
    }
    if (ok && buf_len(&original) && restore_duplicate(record, buf_bytes(&original), &row) &&
        msg_decode(MSG_EVENT_WRAPPER, &w, buf_bytes(&row)))
        give(q, &w, buf_bytes(&row));
    q->duplicate.start = q->duplicate.end = 0;
    buf_free(&original);
    buf_free(&row);
    return ok;
}

static bool read_page(cursor_t *q, why_t *why)
{
    ensign_slice_t after = slice_of(q->after, q->begun ? EVENT_KEY : 0);

    q->stopped = false;
    if (!store_scan(q->store, STORE_EVENT, slice_of(q->topic, sizeof q->topic), after, on_record, q, why))
        return false;
    q->gone = !q->stopped && !q->done && !q->strict;
    if (!q->stopped) q->done = true;
    return buf_len(&q->duplicate) == 0 || send_duplicate(q, why);
}

/* Reads until a slice of work is done, or there is no more; then the call ends. */
static void read_slice(cursor_t *q)
{
    why_t why;

    q->examined = q->bytes = q->work = 0;
    while (!q->done && !slice_is_over(q)) {
        if (read_page(q, &why)) continue;
        log_line("query: %s", why.text);
        call_end(q->call, GRPC_INTERNAL, TEXT_FAILED);
        return;
    }
    if (q->call->ended) return;         /* at an event */
    if (q->gone) call_end(q->call, GRPC_ABORTED, "topic destroyed while the query ran; rows are missing");
    else if (q->done) call_end(q->call, GRPC_OK, NULL);
}

static bool step(service_t *s, job_t *j, bool *more, why_t *why)
{
    cursor_t *q = (cursor_t *)j;
    (void)s;
    (void)why;

    if (q->call && !q->call->ended) read_slice(q);
    *more = q->call && !q->call->ended && !q->call->closed && buf_len(&q->call->out) < QUEUE_FULL;
    return true;
}

static void free_cursor(cursor_t *q)
{
    buf_free(&q->duplicate);
    select_free(&q->select);
    free(q);
}

static void leave(service_t *s, job_t *j, bool done)
{
    cursor_t *q = (cursor_t *)j;
    (void)s;
    (void)done;

    q->queued = false;
    if (!q->call) free_cursor(q);
}

static void refill(void *user, call_t *c)
{
    cursor_t *q = c->state;

    if (q->plain) {
        read_slice(q);
    } else if (!q->queued) {
        q->queued = true;
        jobs_add(user, &q->job);
    }
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

/* With --strict as the service does it: WHERE and fields are read alone. False: the call has its status. */
static bool read_sql(service_t *s, call_t *c, const msg_query_t *request, select_t *select)
{
    ensql_text_t error;
    ensql_result_t result = ENSQL_OK;

    memset(select, 0, sizeof *select);
    if (s->strict) result = ensql_parse(request->query, &select->query, &error);
    else if (!select_parse(request->query, request->params, select, &error)) result = ENSQL_ERROR;
    if (result == ENSQL_CRASH) return declined(c, GRPC_OK, NULL);
    return result == ENSQL_OK || declined(c, GRPC_INVALID_ARGUMENT, error.text);
}

/* False: there is nothing to execute, and the call has its status. */
static bool read_query(service_t *s, call_t *c, ensign_slice_t message, msg_query_t *request,
                       select_t *select, topic_t **topic)
{
    if (!msg_decode(MSG_QUERY, request, message) || !params_are_read(request->params) ||
        !utf8_valid(request->query))
        return declined(c, GRPC_INTERNAL, TEXT_BAD_MESSAGE);
    if (!c->claims.has_project) return declined(c, GRPC_PERMISSION_DENIED, TEXT_PERMISSION);
    if (request->query.len == 0) return declined(c, GRPC_INVALID_ARGUMENT, "invalid query");
    if (!read_sql(s, c, request, select)) return false;
    *topic = topics_by_name(s->topics, &c->claims.project, select->query.topic);
    if (*topic) return true;
    select_free(select);
    return declined(c, GRPC_INVALID_ARGUMENT, "unknown topic in query");
}

/* False: the store failed. Without records, and with a limit of nothing, the cursor is done. */
static bool open_cursor(cursor_t *q)
{
    const ensql_query_t *query = &q->select.query;
    buf_t key = { NULL, 0, 0, 0 };
    why_t why;
    bool ok = store_tail(q->store, STORE_EVENT, slice_of(q->topic, sizeof q->topic), &key, &why);

    if (!ok) log_line("query: %s", why.text);
    if (buf_len(&key) == EVENT_KEY) memcpy(q->last, key.ptr, EVENT_KEY);
    else q->done = true;
    buf_free(&key);
    q->skip = query->offset;
    q->limited = query->has_limit;
    q->limit = query->limit;
    if (q->limited && q->limit == 0 && !q->strict) q->done = true;
    return ok;
}

static cursor_t *make_cursor(service_t *s, call_t *c, const topic_t *topic, const select_t *select)
{
    cursor_t *q = x_alloc(sizeof *q);

    q->job.step = step;
    q->job.end = leave;
    q->store = s->topics->store;
    q->strict = s->strict;
    q->plain = s->strict || select_is_plain(select);
    q->call = c;
    q->select = *select;
    memcpy(q->topic, topic->id.b, sizeof q->topic);
    return q;
}

void rpc_ensql(service_t *s, call_t *c, ensign_slice_t message)
{
    msg_query_t request;
    select_t select;
    topic_t *topic;
    cursor_t *q;

    if (c->state) return;       /* one request is all that there is to it */
    if (!read_query(s, c, message, &request, &select, &topic)) return;
    q = make_cursor(s, c, topic, &select);
    q->duplicates = request.include_duplicates;
    c->state = q;
    if (!open_cursor(q)) {
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
    q->call = NULL;
    if (!q->queued) free_cursor(q);     /* else the job is still to find that the call is gone */
}

/* ---- Explain */

/* It holds the longest plan: a topic's name of 512 bytes, and two texts of SHOWN_MAX. */
typedef struct plan_t { char text[1600]; size_t len; } plan_t;

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

#define SHOWN_MAX 250           /* bytes of a text out of the query; a longer one is cut */

static void add_text(plan_t *p, const char *before, ensign_slice_t text)
{
    size_t n = text.len > SHOWN_MAX ? SHOWN_MAX : text.len;

    while (n < text.len && n > 0 && (text.ptr[n] & 0xc0) == 0x80) n--;      /* not inside a character */
    add(p, "%s%.*s%s", before, (int)n, (const char *)text.ptr, n < text.len ? "..." : "");
}

static void describe_rows(plan_t *p, const select_t *s, bool duplicates)
{
    const ensql_query_t *q = &s->query;

    if (select_is_plain(s) && q->offset)
        add(p, "; skips %llu of them", (unsigned long long)q->offset);
    add(p, duplicates ? "; restores duplicates" : "; leaves out duplicates");
    if (s->where.root) {
        add_text(p, "; takes those WHERE ", q->where);
        add(p, " (conditions: %zu)", q->test_count);
    }
    if (!q->all) add_text(p, "; takes those that are JSON, and gives of each an object with ", q->fields);
    if (!select_is_plain(s) && q->offset) add(p, "; skips %llu rows", (unsigned long long)q->offset);
    if (q->has_limit) add(p, "; ends after %llu rows", (unsigned long long)q->limit);
    if (q->schema.len) add(p, "; of any schema%s", q->version ? " and version" : "");
}

/* It waits until the topic's events are counted. */
typedef struct explain_t {
    job_t    job;
    call_t  *call;              /* NULL: nobody waits any more */
    topic_t *topic;
    rlid_t   until;
    plan_t   rows;
} explain_t;

static bool count_step(service_t *s, job_t *j, bool *more, why_t *why)
{
    explain_t *x = (explain_t *)j;

    *more = x->call != NULL;
    return !*more || numbers_advance(s, x->topic, &x->until, more, why);
}

static void explain(service_t *s, job_t *j, bool done)
{
    explain_t *x = (explain_t *)j;
    plan_t plan = { "", 0 };
    char id[ULID_TEXT + 1];

    if (x->call) x->call->state = NULL;
    if (x->call && done) {
        ulid_text(&x->topic->id, id);
        add(&plan, "looks at %llu events of topic %s (%s) in the order of their commits%s",
            (unsigned long long)numbers_events(s, x->topic), x->topic->name, id, x->rows.text);
        call_send(x->call, slice_of(NULL, 0));
        call_end(x->call, GRPC_OK, plan.text);
    } else if (x->call) {
        call_end(x->call, GRPC_INTERNAL, TEXT_FAILED);
    }
    free(x);
}

/* The service does not answer it yet, and its message has no field for a plan. Here the status says whether
   the query would run; with OK its text tells how. */
void rpc_explain(service_t *s, call_t *c, ensign_slice_t message)
{
    msg_query_t request;
    select_t select;
    topic_t *topic;
    explain_t *x;

    if (c->state) return;       /* one request is all that there is to it */
    if (s->strict) {
        if (!c->claims.has_project) call_end(c, GRPC_PERMISSION_DENIED, TEXT_PERMISSION);
        else call_end(c, GRPC_UNIMPLEMENTED, "explain query is not implemented yet");
        return;
    }
    if (!read_query(s, c, message, &request, &select, &topic)) return;
    x = x_alloc(sizeof *x);
    x->job.step = count_step;
    x->job.end = explain;
    x->job.topic = x->topic = topic;
    x->call = c;
    x->until = broker_last(s->broker);
    describe_rows(&x->rows, &select, request.include_duplicates);
    select_free(&select);
    c->state = x;
    jobs_add(s, &x->job);
}

void explain_closed(service_t *s, call_t *c)
{
    explain_t *x = c->state;
    (void)s;

    if (x) x->call = NULL;
    c->state = NULL;
}
