/* policy.c - the RPCs that make topics, change them and take them away; see service.h
 *
 * A topic is PENDING while its events are brought under a new policy (rehash.c). One that is being destroyed
 * stays as it was until all its events are gone; that it shall go is noted in the store, so that a restart
 * does not forget it. */
#include "reply.h"
#include "rehash.h"
#include "numbers.h"
#include "topic_state.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DESTROY_RECORDS 1024            /* in one slice */

#define TEXT_NOT_FOUND "topic not found"
#define TEXT_DELETE_FAILED "could not process delete topic request"
#define TEXT_POLICY_FAILED "could not process set topic policy request"

static const char destroy_prefix[] = "destroy:";

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
    *text = "could not process create topic request";
    if (t->id.len != 0 && topics_by_id(s->topics, &id)) return GRPC_INTERNAL;
    *text = "topic name already exists in project";
    if (topics_by_name(s->topics, &c->claims.project, t->name)) return GRPC_ALREADY_EXISTS;
    return GRPC_OK;
}

void rpc_create_topic(service_t *s, call_t *c, ensign_slice_t message)
{
    msg_topic_t t;
    buf_t record = { NULL, 0, 0, 0 }, scratch = { NULL, 0, 0, 0 };
    ulid_t id = ulid_new();
    const char *text;
    topic_t *made = NULL;
    why_t why;
    int status;

    if (!decode(c, MSG_TOPIC, &t, message)) return;
    status = topic_fault(s, c, &t, &text);
    if (status != GRPC_OK) {
        call_end(c, status, text);
        return;
    }
    if (t.id.len) ulid_from(t.id, &id);
    t.id = slice_of(id.b, sizeof id.b);
    t.project_id = slice_of(c->claims.project.b, sizeof c->claims.project.b);
    t.status = MSG_TOPIC_STATE_READY;
    t.has_deduplication = t.has_created = t.has_modified = true;
    normalise(&t.deduplication, &scratch);
    t.created = t.modified = wall_in(0);
    why.text[0] = '\0';
    if (msg_put(&record, MSG_TOPIC, &t))
        made = topics_add(s->topics, &id, &c->claims.project, t.name, buf_bytes(&record), &why);
    if (made) {
        topic_note(made);
        call_send(c, buf_bytes(&record));
        call_end(c, GRPC_OK, NULL);
        log_line("topic %.*s created", (int)t.name.len, (const char *)t.name.ptr);
    } else {
        log_line("topic not created: %s", why.text);
        call_end(c, GRPC_INTERNAL, "could not process create topic request");
    }
    buf_free(&record);
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

static void set_policy(service_t *s, call_t *c, topic_t *t, msg_deduplication_t *d)
{
    msg_topic_t m;
    buf_t scratch = { NULL, 0, 0, 0 }, old = { NULL, 0, 0, 0 };
    const char *fault;
    why_t why;

    normalise(d, &scratch);
    if (!topic_read(t, &m, &why)) {
        call_end(c, GRPC_INTERNAL, TEXT_POLICY_FAILED);
        goto done;
    }
    normalise(&m.deduplication, &old);
    if (same_policy(&m.deduplication, d) &&
        (s->strict || m.deduplication.overwrite_duplicate == d->overwrite_duplicate)) {
        answer_state(c, t, t->state);
        goto done;
    }
    fault = policy_fault(s, d);
    if (fault) {
        call_end(c, GRPC_INVALID_ARGUMENT, fault);
        goto done;
    }
    m.has_deduplication = true;
    m.deduplication = *d;
    m.status = MSG_TOPIC_STATE_PENDING;
    if (topic_save(s->topics, t, &m, &why)) {
        rehash_start(s, t);
        answer_state(c, t, t->state);
    } else {
        log_line("policy of topic %s not changed: %s", t->name, why.text);
        call_end(c, GRPC_INTERNAL, TEXT_POLICY_FAILED);
    }
done:
    buf_free(&scratch);
    buf_free(&old);
}

void rpc_set_topic_policy(service_t *s, call_t *c, ensign_slice_t message)
{
    msg_topic_policy_t request;
    topic_t *t;

    if (!decode(c, MSG_TOPIC_POLICY, &request, message)) return;
    if (!policy_asked(s, c, &request)) return;
    t = topic_of(s, c, request.id);
    if (t && policy_allowed(c, t, request.sharding_strategy != 0))
        set_policy(s, c, t, &request.deduplication_policy);
}

/* ---- DeleteTopic */

typedef char destroy_key_t[sizeof destroy_prefix + ULID_TEXT];

static ensign_slice_t destroy_key(const topic_t *t, destroy_key_t out)
{
    memcpy(out, destroy_prefix, sizeof destroy_prefix);
    ulid_text(&t->id, out + sizeof destroy_prefix - 1);
    return slice_text(out);
}

/* The last events, the record and the note go in one commit. */
static bool destroy_step(service_t *s, job_t *j, bool *more, why_t *why)
{
    store_t *store = s->topics->store;
    destroy_key_t key;
    size_t n;

    if (!store_remove(store, STORE_EVENT, slice_of(j->topic->id.b, 16), DESTROY_RECORDS, &n, why))
        return false;
    *more = n == DESTROY_RECORDS;
    if (!*more && (!topics_remove(s->topics, j->topic, why) ||
                   !store_remove(store, STORE_META, destroy_key(j->topic, key), 1, &n, why)))
        return false;
    if (!store_commit(store, why)) return false;
    if (*more) return true;
    numbers_forget(s, j->topic);
    topics_forget(s->topics, j->topic);
    return true;
}

/* After a failure the next DeleteTopic, or the next start, tries again. */
static void destroy_end(service_t *s, job_t *j, bool done)
{
    (void)s;
    if (done) log_line("topic %s destroyed", j->topic->name);
    j->topic->deleting = false;
    free(j);
}

static void destroy_start(service_t *s, topic_t *t)
{
    job_t *j = x_alloc(sizeof *j);

    t->deleting = true;
    j->step = destroy_step;
    j->end = destroy_end;
    j->topic = t;
    jobs_add(s, j);
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

static bool archive(service_t *s, topic_t *t, why_t *why)
{
    msg_topic_t m;

    if (!topic_read(t, &m, why)) return false;
    m.readonly = true;
    return topic_save(s->topics, t, &m, why);
}

static bool destroy(service_t *s, topic_t *t, why_t *why)
{
    destroy_key_t key;

    if (t->deleting) return true;
    if (!store_put(s->topics->store, STORE_META, destroy_key(t, key), slice_text("1"), why) ||
        !topic_set_state(s->topics, t, t->state, why))      /* modified, as all changes are */
        return false;
    destroy_start(s, t);
    return true;
}

void rpc_delete_topic(service_t *s, call_t *c, ensign_slice_t message)
{
    msg_topic_mod_t request;
    bool archiving;
    topic_t *t;
    why_t why;

    if (!decode(c, MSG_TOPIC_MOD, &request, message) || !mod_allowed(c, &request)) return;
    t = topic_of(s, c, request.id);
    if (!t) return;
    if (t->state != MSG_TOPIC_STATE_READY && t->state != MSG_TOPIC_STATE_READONLY) {
        refuse_state(c, "archive or destroy", t->state);
        return;
    }
    archiving = request.operation == MSG_TOPIC_MOD_OPERATION_ARCHIVE;
    if (archiving ? archive(s, t, &why) : destroy(s, t, &why)) {
        answer_state(c, t, archiving ? MSG_TOPIC_STATE_READONLY : MSG_TOPIC_STATE_DELETING);
    } else {
        log_line("topic %s not changed: %s", t->name, why.text);
        call_end(c, GRPC_INTERNAL, TEXT_DELETE_FAILED);
    }
}

/* ---- start */

static bool resume_destroy(void *user, ensign_slice_t key, ensign_slice_t value)
{
    service_t *s = user;
    ensign_slice_t text = slice_of(key.ptr + sizeof destroy_prefix - 1,
                                   key.len - (sizeof destroy_prefix - 1));
    topic_t *t;
    ulid_t id;
    (void)value;

    if (!ulid_parse(text, &id)) return true;
    t = topics_by_id(s->topics, &id);
    if (t) destroy_start(s, t);
    return true;
}

bool service_resume(service_t *s, why_t *why)
{
    for (size_t i = 0; i < s->topics->count; i++) {
        topic_t *t = s->topics->all[i];
        topic_note(t);
        if (t->state == MSG_TOPIC_STATE_PENDING) rehash_start(s, t);
    }
    return store_scan(s->topics->store, STORE_META, slice_text(destroy_prefix), slice_of(NULL, 0),
                      resume_destroy, s, why);
}
