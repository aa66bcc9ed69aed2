/* policy.c - the RPCs that make topics, change them and take them away; see service.h
 *
 * Each answers when the log has answered its change (change.h). A topic is PENDING while its events are
 * brought under a new policy (rehash.c). One that is being destroyed stays as it was until all its events are
 * gone; that it shall go is noted in the log, so that a restart does not forget it. */
#include "reply.h"
#include "rehash.h"
#include "numbers.h"
#include "topic_state.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_NOT_FOUND "topic not found"
#define TEXT_CREATE_FAILED "could not process create topic request"
#define TEXT_EXISTS "topic name already exists in project"
#define TEXT_MEANWHILE "the topic was changed by another request at the same time; try again"
#define TEXT_DELETE_FAILED "could not process delete topic request"
#define TEXT_POLICY_FAILED "could not process set topic policy request"

typedef struct texts_t { ensign_slice_t *at; size_t count; } texts_t;

/* The texts of a repeated field, sorted, each once, encoded again. */
static void sort_texts(ensign_slice_t *span, uint32_t tag, buf_t *out)
{
    texts_t t = { NULL, 0 };
    ensign_slice_t value;
    size_t at = 0;

    while (msg_next(*span, tag, &at, &value)) {
        t.at = x_realloc(t.at, (t.count + 1) * sizeof *t.at);
        t.at[t.count++] = value;
    }
    if (t.count) qsort(t.at, t.count, sizeof *t.at, slice_compare);
    for (size_t i = 0; i < t.count; i++)
        if (i == 0 || !slice_eq(t.at[i - 1], t.at[i])) msg_put_field(out, tag, t.at[i]);
    free(t.at);
    span->ptr = out->ptr;
    span->len = buf_len(out);
}

static void normalise(msg_deduplication_t *d, buf_t *scratch)
{
    static const ensign_slice_t none;
    bool by_key = d->strategy == MSG_DEDUPLICATION_STRATEGY_KEY_GROUPED ||
                  d->strategy == MSG_DEDUPLICATION_STRATEGY_UNIQUE_KEY;
    bool by_field = d->strategy == MSG_DEDUPLICATION_STRATEGY_UNIQUE_FIELD;

    if (d->offset == 0) d->offset = MSG_DEDUPLICATION_OFFSET_POSITION_OFFSET_EARLIEST;
    if (d->strategy == 0) d->strategy = MSG_DEDUPLICATION_STRATEGY_NONE;
    if (by_key) sort_texts(&d->keys, MSG_DEDUPLICATION_KEYS_TAG, scratch);
    else d->keys = none;
    if (by_field) sort_texts(&d->fields, MSG_DEDUPLICATION_FIELDS_TAG, scratch);
    else d->fields = none;
}

/* What is wrong with a CreateTopic; GRPC_OK: nothing. */
static int topic_fault(const service_t *s, const call_t *c, const msg_topic_t *t, const char **text)
{
    ulid_t id;

    *text = "missing project id field";
    if (t->project_id.len == 0 && !c->claims.has_project) return GRPC_INVALID_ARGUMENT;
    if (t->project_id.len != 0) {
        *text = "invalid project id field";
        if (!ulid_from(t->project_id, &id)) return GRPC_INVALID_ARGUMENT;
        *text = TEXT_PERMISSION;
        if (!c->claims.has_project || !ulid_eq(&id, &c->claims.project)) return GRPC_PERMISSION_DENIED;
    }
    *text = "cannot parse id field";
    if (t->id.len != 0 && !ulid_from(t->id, &id)) return GRPC_INVALID_ARGUMENT;
    *text = topic_name_fault(t->name);
    if (*text) return GRPC_INVALID_ARGUMENT;
    *text = TEXT_CREATE_FAILED;
    if (t->id.len != 0 && topics_by_id(s->topics, &id)) return GRPC_INTERNAL;
    *text = TEXT_EXISTS;
    if (topics_by_name(s->topics, &c->claims.project, t->name)) return GRPC_ALREADY_EXISTS;
    return GRPC_OK;
}

/* Of two that were given the same id at once, the second one is taken back. */
static void created(change_t *x)
{
    ulid_t project, id;
    ensign_slice_t name;
    const topic_t *t;

    if (!change_done(x)) {
        if (x->put.base.result == LOG_CHANGED) {
            change_end(x, GRPC_ALREADY_EXISTS, TEXT_EXISTS);
        } else {
            log_line("topic not created: %s", x->put.base.why.text);
            change_end(x, GRPC_INTERNAL, TEXT_CREATE_FAILED);
        }
        change_free(x);
        return;
    }
    topic_record_read(x->put.key, x->put.value, &project, &id, &name);
    t = topics_by_name(x->service->topics, &project, name);
    if (t && ulid_eq(&t->id, &id)) {
        if (x->call) call_send(x->call, x->put.value);
        change_end(x, GRPC_OK, NULL);
        log_line("topic %s created", t->name);
        change_free(x);
    } else {
        change_end(x, GRPC_INTERNAL, TEXT_CREATE_FAILED);
        x->then = change_free;
        buf_free(&x->value);
        change_put(x, x->put.revision);
    }
}

void rpc_create_topic(service_t *s, call_t *c, ensign_slice_t message)
{
    msg_topic_t t;
    buf_t scratch = { NULL, 0, 0, 0 };
    const char *text;
    change_t *x;
    int status;

    if (c->state) return;       /* one request is all that there is to it */
    if (!decode(c, MSG_TOPIC, &t, message)) return;
    status = topic_fault(s, c, &t, &text);
    if (status != GRPC_OK) {
        call_end(c, status, text);
        return;
    }
    t.has_deduplication = true;
    normalise(&t.deduplication, &scratch);
    x = change_new(s, c, NULL, created);
    if (topic_make(x, &c->claims.project, &t)) {
        change_put(x, 0);
    } else {
        change_end(x, GRPC_INTERNAL, TEXT_CREATE_FAILED);
        change_free(x);
    }
    buf_free(&scratch);
}

/* ---- topics that there are */

static const char *state_name(int32_t state)
{
    static const char *const names[] = { "UNDEFINED", "READY", "READONLY", "DELETING", "PENDING",
                                         "ALLOCATING", "REPAIRING" };
    return state >= 0 && (size_t)state < sizeof names / sizeof names[0] ? names[state] : "unknown";
}

static void answer_state(call_t *c, const topic_t *t, int32_t state)
{
    msg_topic_status_t status;
    char id[ULID_TEXT + 1];

    ulid_text(&t->id, id);
    status.id = slice_of(id, ULID_TEXT);
    status.state = state;
    reply(c, MSG_TOPIC_STATUS, &status);
}

static void refuse_state(call_t *c, const char *what, int32_t state)
{
    char text[160];
    snprintf(text, sizeof text, "cannot %s a topic that is in the %s state", what, state_name(state));
    call_end(c, GRPC_FAILED_PRECONDITION, text);
}

static bool is_blank(ensign_slice_t text)
{
    size_t i = 0;
    while (i < text.len && (text.ptr[i] == ' ' || (text.ptr[i] >= '\t' && text.ptr[i] <= '\r'))) i++;
    return i == text.len;
}

/* A change of a topic that was not made. */
static void refuse_change(change_t *x, const char *text)
{
    if (x->put.base.result == LOG_CHANGED) {
        change_end(x, GRPC_ABORTED, TEXT_MEANWHILE);
    } else {
        log_line("topic %s not changed: %s", x->topic->name, x->put.base.why.text);
        change_end(x, GRPC_INTERNAL, text);
    }
}

/* NULL: the call has been answered. */
static topic_t *topic_of(const service_t *s, call_t *c, ensign_slice_t text)
{
    topic_t *t;
    ulid_t id;

    if (!ulid_parse(text, &id)) {
        call_end(c, GRPC_INVALID_ARGUMENT, "invalid id field");
        return NULL;
    }
    t = topics_by_id(s->topics, &id);
    if (t && c->claims.has_project && ulid_eq(&t->project, &c->claims.project)) return t;
    call_end(c, GRPC_NOT_FOUND, TEXT_NOT_FOUND);
    return NULL;
}

/* ---- SetTopicPolicy */

static bool same_policy(const msg_deduplication_t *a, const msg_deduplication_t *b)
{
    return a->strategy == b->strategy && a->offset == b->offset &&
           slice_eq(a->keys, b->keys) &&
           slice_eq(a->fields, b->fields);
}

/* What is wrong with a normalised policy; NULL: nothing. The service takes what it then cannot run; here only
   --strict does. */
static const char *policy_fault(const service_t *s, const msg_deduplication_t *d)
{
    bool by_key = d->strategy == MSG_DEDUPLICATION_STRATEGY_KEY_GROUPED ||
                  d->strategy == MSG_DEDUPLICATION_STRATEGY_UNIQUE_KEY;
    bool by_field = d->strategy == MSG_DEDUPLICATION_STRATEGY_UNIQUE_FIELD;

    if (by_key && d->keys.len == 0) return "no keys specified for key based hashing";
    if (by_field && d->fields.len == 0) return "no fields specified for field based hashing";
    if (s->strict) return NULL;
    if (by_field) return "hash unique field is not implemented";
    if (d->strategy < 0 || d->strategy > MSG_DEDUPLICATION_STRATEGY_UNIQUE_FIELD)
        return "unknown deduplication strategy";
    return NULL;
}

/* What can be said before the topic is looked up. */
static bool policy_asked(const service_t *s, call_t *c, const msg_topic_policy_t *request)
{
    bool sharding = request->sharding_strategy != 0;
    const char *fault = NULL;

    if (is_blank(request->id)) {
        fault = "missing id field";
    } else if (!request->has_deduplication_policy) {
        if (s->strict) {        /* the handler panics, and this is what then comes out */
            call_send(c, slice_of(NULL, 0));
            call_end(c, GRPC_OK, NULL);
            return false;
        }
        fault = sharding ? "missing deduplication policy field" : "no policies defined to set on topic";
    } else if (request->deduplication_policy.strategy == 0 && !sharding) {
        fault = "no policies defined to set on topic";
    }
    if (fault) call_end(c, GRPC_INVALID_ARGUMENT, fault);
    return !fault;
}

static bool policy_allowed(call_t *c, const topic_t *t, bool sharding)
{
    if (t->readonly)
        call_end(c, GRPC_FAILED_PRECONDITION, "cannot change policies of an archived topic");
    else if (t->deleting || t->state != MSG_TOPIC_STATE_READY)
        refuse_state(c, "change", t->deleting ? MSG_TOPIC_STATE_DELETING : t->state);
    else if (sharding)
        call_end(c, GRPC_UNIMPLEMENTED,
                 "changing the sharding strategy of a topic is currently not supported");
    else return true;
    return false;
}

static const char *strategy_name(int32_t strategy)
{
    static const char *const names[] = { "UNKNOWN", "NONE", "STRICT", "DATAGRAM", "KEY_GROUPED", "UNIQUE_KEY",
                                         "UNIQUE_FIELD" };
    return strategy >= 0 && (size_t)strategy < sizeof names / sizeof names[0] ? names[strategy] : names[0];
}

/* Where stored events stay as they are, a policy can only touch those that come. */
static bool log_allows(const service_t *s, call_t *c, const msg_deduplication_t *d)
{
    char text[160];

    if (log_can_amend(s->log) || d->strategy == MSG_DEDUPLICATION_STRATEGY_NONE ||
        d->strategy == MSG_DEDUPLICATION_STRATEGY_STRICT)
        return true;
    snprintf(text, sizeof text,
             "the policy %s is not supported, since the store of this server cannot change stored events; "
             "NONE and STRICT are", strategy_name(d->strategy));
    call_end(c, GRPC_UNIMPLEMENTED, text);
    return false;
}

static void policy_saved(change_t *x)
{
    if (!change_done(x)) {
        refuse_change(x, TEXT_POLICY_FAILED);
    } else {
        if (x->topic->state == MSG_TOPIC_STATE_PENDING) rehash_start(x->service, x->topic);
        if (x->call) answer_state(x->call, x->topic, x->topic->state);
    }
    change_free(x);
}

/* False: the call has been answered. Into `m` goes the topic with the new policy. */
static bool take_policy(const service_t *s, call_t *c, const topic_t *t, const msg_deduplication_t *d,
                        msg_topic_t *m, buf_t *old)
{
    const char *fault = policy_fault(s, d);
    why_t why;

    if (!topic_read(t, m, &why)) {
        call_end(c, GRPC_INTERNAL, TEXT_POLICY_FAILED);
        return false;
    }
    normalise(&m->deduplication, old);
    if (same_policy(&m->deduplication, d) &&
        (s->strict || m->deduplication.overwrite_duplicate == d->overwrite_duplicate)) {
        answer_state(c, t, t->state);
        return false;
    }
    if (fault) call_end(c, GRPC_INVALID_ARGUMENT, fault);
    if (fault || !log_allows(s, c, d)) return false;
    m->has_deduplication = true;
    m->deduplication = *d;
    m->status = log_can_amend(s->log) ? MSG_TOPIC_STATE_PENDING : MSG_TOPIC_STATE_READY;
    return true;
}

static void set_policy(service_t *s, call_t *c, topic_t *t, msg_deduplication_t *d)
{
    msg_topic_t m;
    buf_t scratch = { NULL, 0, 0, 0 }, old = { NULL, 0, 0, 0 };
    change_t *x;
    why_t why;

    normalise(d, &scratch);
    if (take_policy(s, c, t, d, &m, &old)) {
        x = change_new(s, c, t, policy_saved);
        if (!topic_save(x, &m, &why)) {
            log_line("policy of topic %s not changed: %s", t->name, why.text);
            change_end(x, GRPC_INTERNAL, TEXT_POLICY_FAILED);
            change_free(x);
        }
    }
    buf_free(&scratch);
    buf_free(&old);
}

void rpc_set_topic_policy(service_t *s, call_t *c, ensign_slice_t message)
{
    msg_topic_policy_t request;
    topic_t *t;

    if (c->state) return;       /* one request is all that there is to it */
    if (!decode(c, MSG_TOPIC_POLICY, &request, message)) return;
    if (!policy_asked(s, c, &request)) return;
    t = topic_of(s, c, request.id);
    if (t && policy_allowed(c, t, request.sharding_strategy != 0))
        set_policy(s, c, t, &request.deduplication_policy);
}

/* ---- DeleteTopic */

typedef enum { EVENTS, RECORD, NOTE, OVER } destroy_phase_t;

typedef struct destroy_job_t {
    job_t           job;                /* of no topic: it goes on when that is gone */
    log_destroy_t   request;
    service_t      *service;
    topic_t        *topic;
    destroy_phase_t phase;              /* what is to be taken away next */
    bool            asked, failed;
} destroy_job_t;

static void destroy_answered(destroy_job_t *d, const log_request_t *r)
{
    d->asked = false;
    d->failed = r->result != LOG_OK;
    if (d->failed) log_line("topic %s not destroyed: %s", d->topic->name, r->why.text);
    d->phase++;
    jobs_wake(d->service, &d->job);
}

static void events_destroyed(log_request_t *r)
{
    destroy_answered(r->user, r);
}

static void record_removed(change_t *x)
{
    destroy_answered((destroy_job_t *)x->job, &x->put.base);
    change_free(x);
}

/* The note goes last: until then a start finds it, and goes on. */
static job_result_t destroy_step(service_t *s, job_t *j)
{
    destroy_job_t *d = (destroy_job_t *)j;
    change_t *x;

    if (d->failed) return JOB_FAILED;
    if (d->phase == OVER) return JOB_DONE;
    d->asked = d->phase == EVENTS;
    if (d->asked) {
        log_destroy(s->log, &d->request);
        return JOB_WAIT;
    }
    x = change_new(s, NULL, d->topic, record_removed);
    x->job = j;
    if (d->phase == RECORD) {
        topic_remove(x);
    } else {
        topic_destroy_key(&d->topic->id, &x->key);
        change_put(x, LOG_ANY_REVISION);
    }
    return JOB_WAIT;
}

/* After a failure the next DeleteTopic, or the next start, tries again. */
static void destroy_end(service_t *s, job_t *j, bool done)
{
    destroy_job_t *d = (destroy_job_t *)j;

    if (d->asked) log_cancel(s->log, &d->request.base);
    if (done) log_line("topic %s destroyed", d->topic->name);
    d->topic->deleting = false;
    free(d);
}

static void destroy_start(service_t *s, topic_t *t)
{
    destroy_job_t *d = x_alloc(sizeof *d);

    t->deleting = true;
    d->job.step = destroy_step;
    d->job.end = destroy_end;
    d->service = s;
    d->topic = t;
    d->request.base.done = events_destroyed;
    d->request.base.user = d;
    d->request.project = t->project;
    d->request.topic = t->id;
    jobs_add(s, &d->job);
}

static bool mod_allowed(call_t *c, const msg_topic_mod_t *request)
{
    bool archive = request->operation == MSG_TOPIC_MOD_OPERATION_ARCHIVE;
    unsigned need = archive ? PERM_TOPICS_EDIT : PERM_TOPICS_DESTROY;

    if (!archive && request->operation != MSG_TOPIC_MOD_OPERATION_DESTROY)
        call_end(c, GRPC_INVALID_ARGUMENT, "invalid operation field");
    else if (!(c->claims.permissions & need))
        call_end(c, GRPC_PERMISSION_DENIED, TEXT_PERMISSION);
    else if (is_blank(request->id))
        call_end(c, GRPC_INVALID_ARGUMENT, "missing id field");
    else return true;
    return false;
}

static void archived(change_t *x)
{
    if (!change_done(x)) refuse_change(x, TEXT_DELETE_FAILED);
    else if (x->call) answer_state(x->call, x->topic, MSG_TOPIC_STATE_READONLY);
    change_free(x);
}

static bool archive(change_t *x, why_t *why)
{
    msg_topic_t m;

    if (!topic_read(x->topic, &m, why)) return false;
    m.readonly = true;
    x->then = archived;
    return topic_save(x, &m, why);
}

/* Whatever became of the time of the change: the note stands. */
static void begin_destruction(change_t *x)
{
    if (!topic_is_gone(x->topic) && !x->topic->deleting) destroy_start(x->service, x->topic);
    if (x->call) answer_state(x->call, x->topic, MSG_TOPIC_STATE_DELETING);
    change_free(x);
}

static void noted(change_t *x)
{
    why_t why;

    if (!change_done(x)) {
        refuse_change(x, TEXT_DELETE_FAILED);
        change_free(x);
        return;
    }
    x->then = begin_destruction;        /* behind a new time of its change */
    if (topic_is_gone(x->topic) || !topic_set_state(x, x->topic->state, &why)) begin_destruction(x);
}

static void destroy(change_t *x)
{
    x->then = noted;
    topic_destroy_key(&x->topic->id, &x->key);
    buf_put(&x->value, "1", 1);
    change_put(x, LOG_ANY_REVISION);
}

void rpc_delete_topic(service_t *s, call_t *c, ensign_slice_t message)
{
    msg_topic_mod_t request;
    topic_t *t;
    change_t *x;
    why_t why;

    if (c->state) return;       /* one request is all that there is to it */
    if (!decode(c, MSG_TOPIC_MOD, &request, message) || !mod_allowed(c, &request)) return;
    t = topic_of(s, c, request.id);
    if (!t) return;
    if (t->state != MSG_TOPIC_STATE_READY && t->state != MSG_TOPIC_STATE_READONLY) {
        refuse_state(c, "archive or destroy", t->state);
        return;
    }
    if (request.operation == MSG_TOPIC_MOD_OPERATION_DESTROY && t->deleting) {
        answer_state(c, t, MSG_TOPIC_STATE_DELETING);
        return;
    }
    x = change_new(s, c, t, NULL);
    if (request.operation == MSG_TOPIC_MOD_OPERATION_DESTROY) {
        destroy(x);
    } else if (!archive(x, &why)) {
        log_line("topic %s not changed: %s", t->name, why.text);
        change_end(x, GRPC_INTERNAL, TEXT_DELETE_FAILED);
        change_free(x);
    }
}

/* ---- start */

typedef struct notes_t { ulid_t *topics; size_t count; } notes_t;

static bool read_note(void *user, ensign_slice_t key, ensign_slice_t value)
{
    notes_t *n = user;
    size_t at = sizeof TOPIC_DESTROY_PREFIX - 1;
    ulid_t id;
    (void)value;

    if (!ulid_from(slice_of(key.ptr + at, key.len - at), &id)) return true;
    n->topics = x_realloc(n->topics, (n->count + 1) * sizeof *n->topics);
    n->topics[n->count++] = id;
    return true;
}

/* A note of a topic without a record says that only the note itself is left. */
static void resume_destroy(service_t *s, const ulid_t *id)
{
    topic_t *t = topics_by_id(s->topics, id);
    change_t *x;

    if (t) {
        destroy_start(s, t);
        return;
    }
    x = change_new(s, NULL, NULL, change_free);
    topic_destroy_key(id, &x->key);
    change_put(x, LOG_ANY_REVISION);
}

static void on_topic(void *user, topic_t *t)
{
    service_t *s = user;

    if (topic_is_gone(t)) numbers_forget(s, t);
    if (topic_is_gone(t)) groups_forget_topic(s, &t->id);
    dedup_window_changed(s->dedup, t);
}

void service_resume(service_t *s)
{
    notes_t notes = { NULL, 0 };

    s->topics->changed = on_topic;
    s->topics->user = s;
    for (size_t i = 0; i < s->topics->count; i++)
        if (s->topics->all[i]->state == MSG_TOPIC_STATE_PENDING) rehash_start(s, s->topics->all[i]);
    log_each(s->log, TOPIC_DESTROY_PREFIX, read_note, &notes);
    for (size_t i = 0; i < notes.count; i++) resume_destroy(s, &notes.topics[i]);
    free(notes.topics);
}
