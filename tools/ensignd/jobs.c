/* jobs.c - see jobs.h */
#include "jobs.h"
#include <stdlib.h>
#include <string.h>

#define JOBS_MS 2

static void unlink_job(job_t *j)
{
    *j->back = j->next;
    if (j->next) j->next->back = j->back;
}

static void link_job(job_t **at, job_t *j)
{
    j->next = *at;
    j->back = at;
    if (j->next) j->next->back = &j->next;
    *at = j;
}

void jobs_add(service_t *s, job_t *j)
{
    job_t **at = &s->jobs;

    while (*at) at = &(*at)->next;
    j->waiting = false;
    link_job(at, j);
}

void jobs_wake(service_t *s, job_t *j)
{
    if (!j->waiting) return;
    unlink_job(j);
    jobs_add(s, j);
}

void jobs_wake_all(service_t *s, const void *waits_for, bool ok)
{
    job_t *next;

    for (job_t *j = s->waiting; j; j = next) {
        next = j->next;
        if (j->waits_for != waits_for) continue;
        j->waits_for = NULL;
        j->wake_failed = !ok;
        jobs_wake(s, j);
    }
}

bool jobs_pending(const service_t *s)
{
    return s->jobs != NULL;
}

static bool is_gone(const job_t *j)
{
    return j->topic && topic_is_gone(j->topic);
}

static void run_first(service_t *s)
{
    job_t *j = s->jobs;
    job_result_t result;

    unlink_job(j);
    result = is_gone(j) ? JOB_FAILED : j->step(s, j);
    if (result == JOB_MORE) {
        jobs_add(s, j);
    } else if (result == JOB_WAIT) {
        j->waiting = true;
        link_job(&s->waiting, j);
    } else {
        if (is_gone(j)) log_line("a job has ended: its topic is gone");
        j->end(s, j, result == JOB_DONE);
    }
}

void jobs_run(service_t *s)
{
    int64_t end = now_ms() + JOBS_MS;
    while (s->jobs && now_ms() < end) run_first(s);
}

/* The end of one may wake others. */
void jobs_free(service_t *s)
{
    job_t *j;

    while ((j = s->jobs ? s->jobs : s->waiting) != NULL) {
        unlink_job(j);
        j->end(s, j, false);
    }
}
