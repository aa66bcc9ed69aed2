/* topic_state.c - see topic_state.h */
#include "reply.h"
#include "topic_state.h"

static void set_key(change_t *x, const ulid_t *project, ensign_slice_t name)
{
    x->key.start = x->key.end = 0;
    topic_record_key(project, name, &x->key);
}

bool topic_message_put(buf_t *out, const ulid_t *project, msg_topic_t *m)
{
    ulid_t id = ulid_new();

    if (m->id.len == 0) m->id = slice_of(id.b, sizeof id.b);
    m->project_id = slice_of(project->b, sizeof project->b);
    m->status = MSG_TOPIC_STATE_READY;
    m->has_created = m->has_modified = true;
    m->created = m->modified = wall_in(0);
    return msg_put(out, MSG_TOPIC, m);
}

bool topic_make(change_t *x, const ulid_t *project, msg_topic_t *m)
{
    set_key(x, project, m->name);
    return topic_message_put(&x->value, project, m);
}

bool topic_read(const topic_t *t, msg_topic_t *out, why_t *why)
{
    return msg_decode(MSG_TOPIC, out, slice_of(t->message, t->message_len)) ||
           fail(why, "the record of topic %s cannot be read", t->name);
}

bool topic_save(change_t *x, msg_topic_t *m, why_t *why)
{
    ensign_slice_t known;
    uint64_t revision;

    m->has_modified = true;
    m->modified = wall_in(0);
    set_key(x, &x->topic->project, slice_text(x->topic->name));
    x->value.start = x->value.end = 0;
    if (!msg_put(&x->value, MSG_TOPIC, m))
        return fail(why, "the record of topic %s cannot be written", x->topic->name);
    if (!log_get(x->service->log, buf_bytes(&x->key), &known, &revision))
        return fail(why, "topic %s is gone", x->topic->name);
    change_put(x, revision);
    return true;
}

bool topic_set_state(change_t *x, int32_t state, why_t *why)
{
    msg_topic_t m;

    if (!topic_read(x->topic, &m, why)) return false;
    m.status = state;
    return topic_save(x, &m, why);
}

void topic_remove(change_t *x)
{
    set_key(x, &x->topic->project, slice_text(x->topic->name));
    x->value.start = x->value.end = 0;
    change_put(x, LOG_ANY_REVISION);
}
