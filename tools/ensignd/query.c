/* query.c - the RPCs EnSQL and Explain; see service.h
 *
 * Owns   a job for each query that runs, with its walk over the topic (walk.h).
 * Holds  a query sees the events that there are when it comes, and those only: it ends.
 *        Rows wait in the call's queue, QUEUE_FULL bytes and one row at most. The job goes on only when the
 *        client has taken from it. A cursor that nobody reads holds that, and a page of the log: PAGE_BYTES
 *        and one event more.
 *        A query with WHERE or a list of fields may look at a million events for one row, and OFFSET may skip
 *        as many: all queries together have the jobs' share of a turn of the loop. A slice ends when the
 *        work for its events is WALK_WORK; what one event may cost has limits (field.h, select.h), and a
 *        query that passes one of them ends there.
 * Counts OFFSET of a plain query skips stored records, also duplicates that it does not give, as the service
 *        does. With WHERE or a list of fields, OFFSET and LIMIT count rows.
 * Fails  with a status that says why; a record that cannot be read is left out, as by the service. */
#include "numbers.h"
#include "restore.h"
#include "select.h"
#include "walk.h"
#include "wrapper.h"
#include "../common/utf8.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_FULL 65536u
#define QUEUE_LOW 32768u        /* below it, the queue is filled again */
#define EXAMINE_MAX 1024u       /* events of a page, and of a plain query's slice */
#define PAGE_BYTES 65536u       /* of a query that looks for its rows */

#define TEXT_FAILED "could not execute query"

typedef struct cursor_t {
    job_t            job;
    bool             queued;            /* the job frees the cursor of a call that has ended */
    call_t          *call;              /* NULL: gone */
    const topic_t   *topic;
    select_t         select;            /* strict: its texts have gone with the message */
    walk_t           walk;
    uint64_t         epoch;
    bool             plain, strict, limited, duplicates;
    uint64_t         skip, limit, rows;
    size_t           examined, work;    /* since the slice began */
    bool             done;
} cursor_t;

/* ---- rows */

static void count_row(cursor_t *q)
{
    q->rows++;
    if (q->limited && q->rows >= q->limit) q->done = true;
}

/* `value` is a stored wrapper, or a restored one. */
static void send_whole(cursor_t *q, const log_event_t *e, ensign_slice_t value)
{
    wrapper_t w;
    size_t n;
    uint8_t *p;

    wrapper_of(&w, e, value, q->strict ? 0 : q->epoch, !q->strict);
    n = wrapper_size(&w);
    p = call_message_room(q->call, n);
    if (p) {
        wrapper_write(p, &w);
        call_message_sent(q->call, n);
    }
    count_row(q);
}

static void send_fields(cursor_t *q, view_t *v)
{
    buf_t row = { NULL, 0, 0, 0 };

    if (select_project(&q->select, v, &row)) {
        call_send(q->call, buf_bytes(&row));
        count_row(q);
    }
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
static void choose(cursor_t *q, msg_event_wrapper_t *w, const log_event_t *e, ensign_slice_t value)
{
    view_t v;

    wrapper_complete(w, e, q->epoch, q->strict);
    view_open(&v, w);
    if (select_takes(&q->select, &v)) {
        if (q->skip) q->skip--;
        else if (q->select.query.all) send_whole(q, e, value);
        else send_fields(q, &v);
    }
    if (v.refused) refuse_event(q, &v);
    q->work += v.work;
    view_close(&v);
}

static void give(cursor_t *q, msg_event_wrapper_t *w, const log_event_t *e, ensign_slice_t value)
{
    if (q->plain) send_whole(q, e, value);
    else choose(q, w, e, value);
}

/* One whose original is gone is left out, as by the service. */
static job_result_t give_duplicate(cursor_t *q, const msg_event_wrapper_t *w, const log_event_t *e)
{
    buf_t whole = { NULL, 0, 0, 0 };
    msg_event_wrapper_t restored;
    ensign_slice_t original;
    job_result_t result;
    rlid_t id;

    if (w->duplicate_id.len != sizeof id.b) return JOB_MORE;
    memcpy(id.b, w->duplicate_id.ptr, sizeof id.b);
    result = walk_original(&q->walk, &id, &original);
    if (result == JOB_MORE && original.len && restore_duplicate(e->value, original, &whole) &&
        msg_decode(MSG_EVENT_WRAPPER, &restored, buf_bytes(&whole)))
        give(q, &restored, e, buf_bytes(&whole));
    buf_free(&whole);
    return result;
}

static job_result_t take_event(cursor_t *q, const log_event_t *e)
{
    msg_event_wrapper_t w;

    if (q->plain && q->skip) q->skip--;
    else if (!msg_decode(MSG_EVENT_WRAPPER, &w, e->value))
        log_line("query: a record cannot be read and is left out");
    else if (!w.is_duplicate)
        give(q, &w, e, e->value);
    else if (q->duplicates)
        return give_duplicate(q, &w, e);
    return JOB_MORE;
}

/* ---- slices */

static bool queue_is_full(const cursor_t *q)
{
    return buf_len(&q->call->out) >= QUEUE_FULL;
}

static bool slice_is_over(const cursor_t *q)
{
    return q->examined >= (q->plain ? EXAMINE_MAX : WALK_RECORDS) || q->work >= WALK_WORK;
}

/* The next page is about what the queue has room for, where each event becomes a row. */
static void set_page(cursor_t *q)
{
    size_t queued = buf_len(&q->call->out);

    q->walk.page_events = EXAMINE_MAX;
    if (!q->plain) q->walk.page_bytes = PAGE_BYTES;
    else if (q->skip) q->walk.page_bytes = WALK_BYTES;
    else q->walk.page_bytes = queued < QUEUE_FULL ? QUEUE_FULL - queued : 1;
    if (q->plain && q->skip && q->skip < EXAMINE_MAX) q->walk.page_events = (size_t)q->skip;
}

/* Reads until the slice is over or the queue is full, or there is no more. */
static job_result_t read_slice(cursor_t *q)
{
    job_result_t result = JOB_MORE;
    log_event_t e;

    for (q->examined = q->work = 0; !q->done && !queue_is_full(q) && !slice_is_over(q); q->examined++) {
        set_page(q);
        result = walk_peek(&q->walk, &e);
        if (result == JOB_MORE) result = take_event(q, &e);
        if (result != JOB_MORE) return result;
        walk_take(&q->walk);
    }
    return q->done ? JOB_DONE : JOB_MORE;
}

/* At the end of what the log has: a topic that is destroyed has lost events. */
static void end_query(cursor_t *q)
{
    bool gone = topic_is_gone(q->topic) || q->topic->deleting;

    if (gone && !q->done && !q->strict)
        call_end(q->call, GRPC_ABORTED, "topic destroyed while the query ran; rows are missing");
    else
        call_end(q->call, GRPC_OK, NULL);
}

static job_result_t step(service_t *s, job_t *j)
{
    cursor_t *q = (cursor_t *)j;
    job_result_t result;
    (void)s;

    if (!q->call || q->call->ended || q->call->closed) return JOB_DONE;
    result = read_slice(q);
    if (result == JOB_FAILED) call_end(q->call, GRPC_INTERNAL, TEXT_FAILED);
    else if (result == JOB_DONE && !q->call->ended) end_query(q);
    else if (result == JOB_MORE && queue_is_full(q)) return JOB_DONE;
    return result;
}

static void free_cursor(cursor_t *q)
{
    walk_free(&q->walk);
    select_free(&q->select);
    free(q);
}

static void leave(service_t *s, job_t *j, bool done)
{
    cursor_t *q = (cursor_t *)j;
    (void)s;
    (void)done;

    q->queued = false;
    if (q->call) q->call->refill_below = QUEUE_LOW;
    else free_cursor(q);
}

/* Until the job leaves, nobody has to ask again. */
static void refill(void *user, call_t *c)
{
    cursor_t *q = c->state;

    c->refill_below = 0;
    q->queued = true;
    jobs_add(user, &q->job);
}

/* ---- the query */

bool query_is_read(const msg_query_t *q)
{
    msg_parameter_t p;
    ensign_slice_t item;
    size_t at = 0;

    while (msg_next(q->params, MSG_QUERY_PARAMS_TAG, &at, &item))
        if (!msg_decode(MSG_PARAMETER, &p, item) || !utf8_valid(p.s) || !utf8_valid(p.name))
            return false;
    return utf8_valid(q->query);
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
    if (!msg_decode(MSG_QUERY, request, message) || !query_is_read(request))
        return declined(c, GRPC_INTERNAL, TEXT_BAD_MESSAGE);
    if (!c->claims.has_project) return declined(c, GRPC_PERMISSION_DENIED, TEXT_PERMISSION);
    if (request->query.len == 0) return declined(c, GRPC_INVALID_ARGUMENT, "invalid query");
    if (!read_sql(s, c, request, select)) return false;
    *topic = topics_by_name(s->topics, &c->claims.project, select->query.topic);
    if (*topic) return true;
    select_free(select);
    return declined(c, GRPC_INVALID_ARGUMENT, "unknown topic in query");
}

/* With a limit of nothing, the cursor is done. */
static cursor_t *make_cursor(service_t *s, call_t *c, const topic_t *topic, const select_t *select)
{
    const ensql_query_t *query = &select->query;
    cursor_t *q = x_alloc(sizeof *q);

    q->job.step = step;
    q->job.end = leave;
    q->strict = s->strict;
    q->plain = s->strict || select_is_plain(select);
    q->call = c;
    q->topic = topic;
    q->select = *select;
    q->epoch = log_epoch(s->log, &topic->project);
    q->skip = query->offset;
    q->limited = query->has_limit;
    q->limit = query->limit;
    q->done = q->limited && q->limit == 0 && !q->strict;
    walk_start(&q->walk, s, &q->job, topic, 0, log_last(s->log, &topic->project));
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
    log_line("%s: query of topic %s", c->peer, topic->name);
    c->refill_below = QUEUE_LOW;
    c->refill = refill;
}

void ensql_closed(service_t *s, call_t *c)
{
    cursor_t *q = c->state;

    if (!q) return;
    c->state = NULL;
    log_line("%s: query over: %llu rows", c->peer, (unsigned long long)q->rows);
    q->call = NULL;
    if (q->queued) jobs_wake(s, &q->job);       /* it finds that the call is gone */
    else free_cursor(q);
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
    uint64_t until;             /* an offset */
    plan_t   rows;
} explain_t;

static job_result_t count_step(service_t *s, job_t *j)
{
    explain_t *x = (explain_t *)j;
    return x->call ? numbers_count(s, x->topic, x->until, j) : JOB_DONE;
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
    x->until = log_last(s->log, &topic->project);
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
