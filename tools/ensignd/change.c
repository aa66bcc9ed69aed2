/* change.c - see change.h */
#include "change.h"
#include <stdlib.h>

static void answered(log_request_t *r)
{
    change_t *x = (change_t *)r;
    x->then(x);
}

change_t *change_new(service_t *s, call_t *c, topic_t *t, void (*then)(change_t *x))
{
    change_t *x = x_alloc(sizeof *x);

    x->put.base.done = answered;
    x->service = s;
    x->call = c;
    x->topic = t;
    x->then = then;
    if (c) c->state = x;
    x->next = s->changes;
    x->back = &s->changes;
    if (x->next) x->next->back = &x->next;
    s->changes = x;
    return x;
}

void change_put(change_t *x, uint64_t revision)
{
    x->put.key = buf_bytes(&x->key);
    x->put.value = buf_bytes(&x->value);
    x->put.revision = revision;
    log_put(x->service->log, &x->put);
}

bool change_done(const change_t *x)
{
    return x->put.base.result == LOG_OK;
}

void change_end(change_t *x, int status, const char *text)
{
    if (x->call) call_end(x->call, status, text);
}

void change_free(change_t *x)
{
    if (x->call) x->call->state = NULL;
    *x->back = x->next;
    if (x->next) x->next->back = x->back;
    buf_free(&x->key);
    buf_free(&x->value);
    free(x);
}

void change_closed(service_t *s, call_t *c)
{
    change_t *x = c->state;
    (void)s;

    if (x) x->call = NULL;
    c->state = NULL;
}

void changes_free(service_t *s)
{
    while (s->changes) {
        log_cancel(s->log, &s->changes->put.base);
        change_free(s->changes);
    }
}
