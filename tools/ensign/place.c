/* place.c - see place.h */
#include "place.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

bool place_read(const char *text, place_t *out)
{
    memset(out, 0, sizeof *out);
    if (strcmp(text, "live") == 0) out->kind = PLACE_LIVE;
    else if (strcmp(text, "beginning") == 0) out->kind = PLACE_BEGINNING;
    else if (text[0] == '-' && text_to_u64(text + 1, &out->number)) out->kind = PLACE_LAST;
    else if (text_to_u64(text, &out->number)) out->kind = PLACE_OFFSET;
    else if (text_to_time(text, &out->time)) out->kind = PLACE_TIME;
    else return false;
    return out->number > 0 || (out->kind != PLACE_LAST && out->kind != PLACE_OFFSET);
}

bool place_is_found(const place_t *p)
{
    return p->kind == PLACE_LAST || p->kind == PLACE_TIME;
}

void place_without_offsets(session_t *s)
{
    complain("--from %s: this server gives its events no offsets, so a subscription cannot begin there; "
             "ensignd gives them, but not with --strict", s->o->from);
    session_fail(s, EXIT_ABSENT);
}

/* ---- what the server is asked */

typedef struct finder_t {
    session_t    *s;
    ensign_ulid_t id;           /* of the topic */
    char          name[513];
    bool          any;          /* the last query has found an event */
    uint64_t      offset;       /* of that one; 0: the server keeps no offsets */
    ensign_time_t committed;
} finder_t;

static bool find_topic(finder_t *f, const char *topic)
{
    bool by_id = topic_is_id(topic, &f->id);
    session_t *s = f->s;
    const ensign_notice_t *n;

    n = session_answer(s,
                       by_id                ? ensign_topic_by_id(s->c, f->id, NULL).id
                       : s->o->ensure_topic ? ensign_topic_ensure(s->c, topic, NULL).id
                                            : ensign_topic_by_name(s->c, topic, NULL).id,
                       NULL);
    if (!n) return false;
    f->id = n->as.topic->id;
    snprintf(f->name, sizeof f->name, "%.*s", (int)n->as.topic->name.len,
             (const char *)n->as.topic->name.ptr);
    return true;
}

/* Runs a query for one event of the topic: SELECT * FROM topic, with `rest` behind it. */
static bool find_event(finder_t *f, const char *rest)
{
    const bool plain = topic_is_queryable(f->name);
    const char *quote = plain ? "" : "\"";  /* the service knows no quotes */
    const ensign_notice_t *n, *end;
    ensign_query_desc_t d;
    ensign_query_t q;
    char sql[800];

    snprintf(sql, sizeof sql, "SELECT * FROM %s%s%s %s", quote, f->name, quote, rest);
    memset(&d, 0, sizeof d);
    d.sql = sql;
    d.include_duplicates = true;
    f->any = false;
    q = ensign_query_open(f->s->c, &d);
    while ((n = session_answer(f->s, q.id, &end)) != NULL) {
        if (n->type != ENSIGN_NOTICE_EVENT) continue;
        f->any = true;
        f->offset = n->as.event->offset;
        f->committed = n->as.event->committed;
    }
    if (!end) return false;
    if (!f->any || f->offset > 0) return true;
    place_without_offsets(f->s);
    return false;
}

/* Duplicates count as well. */
static bool count_events(finder_t *f, uint64_t *count)
{
    ensign_request_t r = ensign_info(f->s->c, &f->id, 1, NULL);
    const ensign_notice_t *n, *end;

    *count = 0;
    while ((n = session_answer(f->s, r.id, &end)) != NULL)
        if (n->type == ENSIGN_NOTICE_TOPIC_INFO) *count = n->as.topic_info->events;
    return end != NULL;
}

/* The event that `number` - 1 others follow; none, where the topic has fewer. */
static bool find_last(finder_t *f, uint64_t number)
{
    char rest[64];
    uint64_t count;

    f->any = false;
    if (!count_events(f, &count)) return false;
    if (count < number) return true;
    snprintf(rest, sizeof rest, "OFFSET %" PRIu64 " LIMIT 1", count - number);
    return find_event(f, rest);
}

static bool is_before(ensign_time_t a, ensign_time_t b)
{
    return a.seconds != b.seconds ? a.seconds < b.seconds : a.nanos < b.nanos;
}

/* Behind the last event, where that is older: so none is missed until the stream is open. */
static bool find_time(finder_t *f, ensign_time_t time, uint64_t *from)
{
    char rest[96], text[TIME_TEXT];

    if (!find_last(f, 1)) return false;
    if (f->any && is_before(f->committed, time)) {
        *from = f->offset + 1;
        return true;
    }
    snprintf(rest, sizeof rest, "WHERE @committed >= '%s' LIMIT 1", text_time(time, text));
    if (f->any && !find_event(f, rest)) return false;
    *from = f->any ? f->offset : ENSIGN_FROM_START;
    return true;
}

bool place_find(session_t *s, const place_t *p, const char *topic, uint64_t *from)
{
    static finder_t f;

    f.s = s;
    switch (p->kind) {
    case PLACE_LIVE: *from = ENSIGN_FROM_LIVE; return true;
    case PLACE_BEGINNING: *from = ENSIGN_FROM_START; return true;
    case PLACE_OFFSET: *from = p->number; return true;
    case PLACE_TIME: return find_topic(&f, topic) && find_time(&f, p->time, from);
    case PLACE_LAST: break;
    }
    if (!find_topic(&f, topic) || !find_last(&f, p->number)) return false;
    *from = f.any ? f.offset : ENSIGN_FROM_START;
    return true;
}
