/* info.c - the RPC Info; see service.h
 *
 * Its numbers are those of the moment when it was called, with or without --strict: what has not been counted
 * yet is counted first, by a job, and the call waits for that. */
#include "reply.h"
#include "numbers.h"
#include <stdlib.h>
#include <string.h>

typedef struct info_t {
    job_t     job;
    call_t   *call;             /* NULL: nobody waits any more */
    topic_t **topics;           /* by id */
    size_t    count, at;        /* all before `at` are counted */
    uint64_t  until;            /* an offset */
    ulid_t    project;
} info_t;

static bool is_chosen(ensign_slice_t filter, const topic_t *t)
{
    ensign_slice_t id;
    size_t at = 0;

    if (filter.len == 0) return true;
    while (msg_next(filter, MSG_INFO_REQUEST_TOPICS_TAG, &at, &id))
        if (id.len == sizeof t->id.b && memcmp(id.ptr, t->id.b, sizeof t->id.b) == 0) return true;
    return false;
}

static int by_id(const void *a, const void *b)
{
    topic_t *const *x = a, *const *y = b;
    return memcmp((*x)->id.b, (*y)->id.b, sizeof (*x)->id.b);
}

static void choose(info_t *i, const topics_t *all, ensign_slice_t filter)
{
    i->topics = x_alloc((all->count + 1) * sizeof *i->topics);
    for (size_t k = 0; k < all->count; k++)
        if (ulid_eq(&all->all[k]->project, &i->project) && is_chosen(filter, all->all[k]))
            i->topics[i->count++] = all->all[k];
    qsort(i->topics, i->count, sizeof *i->topics, by_id);
}

static void answer(service_t *s, info_t *i)
{
    msg_project_info_t info;
    sums_t sums = { 0, 0, 0 };
    buf_t topics = { NULL, 0, 0, 0 }, one = { NULL, 0, 0, 0 };

    memset(&info, 0, sizeof info);
    info.project_id = slice_of(i->project.b, sizeof i->project.b);
    for (size_t k = 0; k < i->count; k++) {
        if (topic_is_gone(i->topics[k])) continue;     /* destroyed meanwhile */
        info.num_topics++;
        info.num_readonly_topics += i->topics[k]->readonly;
        one.start = one.end = 0;
        numbers_put(s, i->topics[k], &one, &sums);
        msg_put_field(&topics, MSG_PROJECT_INFO_TOPICS_TAG, buf_bytes(&one));
    }
    info.events = sums.events;
    info.duplicates = sums.duplicates;
    info.data_size_bytes = sums.bytes;
    info.topics.ptr = topics.ptr;
    info.topics.len = buf_len(&topics);
    reply(i->call, MSG_PROJECT_INFO, &info);
    buf_free(&topics);
    buf_free(&one);
}

static job_result_t step(service_t *s, job_t *j)
{
    info_t *i = (info_t *)j;
    job_result_t result;

    if (!i->call || i->at == i->count) return JOB_DONE;
    if (topic_is_gone(i->topics[i->at])) {
        j->wake_failed = false;
        i->at++;
        return JOB_MORE;
    }
    result = numbers_count(s, i->topics[i->at], i->until, j);
    if (result != JOB_DONE) return result;
    i->at++;
    return JOB_MORE;
}

static void end(service_t *s, job_t *j, bool done)
{
    info_t *i = (info_t *)j;

    if (i->call) {
        i->call->state = NULL;
        if (done) answer(s, i);
        else call_end(i->call, GRPC_INTERNAL, "unable to process project info request");
    }
    free(i->topics);
    free(i);
}

void rpc_info(service_t *s, call_t *c, ensign_slice_t message)
{
    msg_info_request_t request;
    ensign_slice_t id;
    size_t at = 0;
    info_t *i;

    if (c->state) return;       /* one request is all that there is to it */
    if (!decode(c, MSG_INFO_REQUEST, &request, message)) return;
    if (!c->claims.has_project) {
        call_end(c, GRPC_PERMISSION_DENIED, TEXT_PERMISSION);
        return;
    }
    while (msg_next(request.topics, MSG_INFO_REQUEST_TOPICS_TAG, &at, &id)) {
        if (id.len == sizeof i->project.b) continue;
        call_end(c, GRPC_INVALID_ARGUMENT, "could not parse topic id in info request filter");
        return;
    }
    i = x_alloc(sizeof *i);
    i->job.step = step;
    i->job.end = end;
    i->call = c;
    i->project = c->claims.project;
    i->until = log_last(s->log, &i->project);
    choose(i, s->topics, request.topics);
    c->state = i;
    jobs_add(s, &i->job);
}

void info_closed(service_t *s, call_t *c)
{
    info_t *i = c->state;
    (void)s;

    if (i) i->call = NULL;
    c->state = NULL;
}
