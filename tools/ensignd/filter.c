/* filter.c - see filter.h */
#include "filter.h"
#include "wrapper.h"

bool filter_takes(const select_t *s, const log_event_t *e, uint64_t epoch, size_t *work,
                  const char **refused)
{
    msg_event_wrapper_t w;
    view_t v;
    bool takes;

    if (s->where.root == 0) return true;
    if (!msg_decode(MSG_EVENT_WRAPPER, &w, e->value)) return false;
    wrapper_complete(&w, e, epoch, false);
    view_open(&v, &w);
    takes = select_takes(s, &v);
    if (v.refused) *refused = v.refused;
    *work += v.work;
    view_close(&v);
    return takes;
}
