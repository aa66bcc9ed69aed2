/* topic_state.c - see topic_state.h */
#include "topic_state.h"

bool topic_read(const topic_t *t, msg_topic_t *out, why_t *why)
{
    return msg_decode(MSG_TOPIC, out, slice_of(t->message, t->message_len)) ||
           fail(why, "the record of topic %s cannot be read", t->name);
}

void topic_note(topic_t *t)
{
    msg_topic_t m;
    why_t why;

    if (!topic_read(t, &m, &why)) return;
    t->readonly = m.readonly;
    t->state = m.status;
}

bool topic_save(topics_t *topics, topic_t *t, msg_topic_t *m, why_t *why)
{
    buf_t b = { NULL, 0, 0, 0 };
    bool ok;

    why->text[0] = '\0';
    m->has_modified = true;
    wall_now(&m->modified.seconds, &m->modified.nanos);
    ok = msg_put(&b, MSG_TOPIC, m) && topics_update(topics, t, buf_bytes(&b), why);
    buf_free(&b);
    if (ok) topic_note(t);
    return ok;
}

bool topic_set_state(topics_t *topics, topic_t *t, int32_t state, why_t *why)
{
    msg_topic_t m;

    if (!topic_read(t, &m, why)) return false;
    m.status = state;
    return topic_save(topics, t, &m, why);
}
