/* group.c - see group.h */
#include "group.h"
#include "ensql_text.h"
#include "filter.h"
#include "messages.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN_FIRST_MS 100
#define AGAIN_MOST_MS 5000
#define BURY_AGAIN_MS 1000
#define EARLY_MOST 16384u               /* acks of one group that wait for their event to be read */
#define RECORD_VERSION 2
#define RECORD_HEAD 34u                 /* bytes in front of the name; 26 in version 1, which had no query */
#define QUERY_SHOWN 100u                /* bytes of a query's text in an error */
#define QUERY_TEXT 140

/* Hears the live events of one project, for all groups of it. */
typedef struct listener_t listener_t;
struct listener_t {
    log_follow_t follow;
    groups_t    *all;
    size_t       groups;
    listener_t  *next, **back;
};

struct member_t {
    group_t       *group;
    void          *user;
    uint32_t       serial;              /* from 1 */
    bool           begun, blocked;      /* blocked: its queue took no more, and there was more */
    bool           stalled;             /* its queue stood still: it is given nothing until that is empty */
    uint8_t       *topics;              /* bits */
    size_t         bits, out;
    uint64_t       given, sent;         /* events so far: to it, and of those to its connection */
    int64_t        moved;               /* ms: when `sent` rose last, or its empty queue got an event */
    place_event_t *first, **last;       /* what is out, in the order in which it was given */
    place_event_t *unsent;              /* the first of them that its connection has not yet */
    member_t      *next, **back;
};

struct group_t {
    groups_t      *all;
    ulid_t         project;
    uint8_t        id[GROUP_ID];
    char          *name, *query;        /* what the settings point at */
    group_record_t settings;
    select_t       select;              /* of the query; empty until a member has brought it */
    size_t         work;                /* that WHERE has made in this turn */
    kept_t         record;
    listener_t    *listener;
    member_t      *members, **members_end;      /* the first one's turn comes next */
    size_t         member_count;
    group_place_t *places, *busy;
    size_t         bytes;               /* of values */
    rlid_t        *early;               /* acked before they were read again; sorted */
    size_t         early_count, early_cap;
    bool           touched;
    int64_t        due;
    group_t       *next, **back;
};

struct groups_t {
    log_t              *log;
    group_rules_t       rules;
    const group_hooks_t *hooks;
    void               *user;           /* of `bury` */
    group_t            *first;
    listener_t         *listeners;
    group_lock_t       *locks;
    group_place_t     **by_topic;       /* chains, by the topic's id */
    size_t              place_count, table_cap;
    uint32_t            serial;
};

/* ---- the record: version, delivery, ack_wait, epoch, begun, the name and its length, the query */

void group_id_of(ensign_slice_t id, ensign_slice_t name, uint8_t out[GROUP_ID])
{
    name_hash_t hash;

    if (id.len == GROUP_ID) {
        memcpy(out, id.ptr, GROUP_ID);
        return;
    }
    hash = name_hash(id.len ? id : name);
    memcpy(out, hash.b, GROUP_ID);
}

void group_key_put(buf_t *out, const ulid_t *project, const uint8_t id[GROUP_ID])
{
    buf_put(out, "group/", 6);
    buf_put(out, project->b, sizeof project->b);
    buf_put(out, id, GROUP_ID);
}

bool group_key_read(ensign_slice_t key, ulid_t *project, uint8_t id[GROUP_ID])
{
    if (key.len != 6 + sizeof project->b + GROUP_ID || memcmp(key.ptr, "group/", 6) != 0) return false;
    memcpy(project->b, key.ptr + 6, sizeof project->b);
    memcpy(id, key.ptr + 6 + sizeof project->b, GROUP_ID);
    return true;
}

static void put_u64(uint8_t *p, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++) p[i] = (uint8_t)(v >> (56 - 8 * i) & 0xff);
}

static uint64_t take_u64(const uint8_t *p)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 8; i++) v = v << 8 | p[i];
    return v;
}

void group_record_put(buf_t *out, const group_record_t *r)
{
    uint8_t head[RECORD_HEAD];

    head[0] = RECORD_VERSION;
    head[1] = (uint8_t)r->delivery;
    put_u64(head + 2, (uint64_t)r->ack_wait);
    put_u64(head + 10, r->epoch);
    put_u64(head + 18, r->begun);
    put_u64(head + 26, r->name.len);
    buf_put(out, head, sizeof head);
    buf_put(out, r->name.ptr, r->name.len);
    buf_put(out, r->query.ptr, r->query.len);
}

bool group_record_read(group_record_t *r, ensign_slice_t value)
{
    bool old = value.len && value.ptr[0] == 1;
    size_t head = old ? 26 : RECORD_HEAD, name;

    if (value.len < head || (!old && value.ptr[0] != RECORD_VERSION)) return false;
    name = value.len - head;
    if (!old && take_u64(value.ptr + 26) > name) return false;
    if (!old) name = (size_t)take_u64(value.ptr + 26);
    r->delivery = value.ptr[1] == GROUP_AT_MOST_ONCE ? GROUP_AT_MOST_ONCE : GROUP_AT_LEAST_ONCE;
    r->ack_wait = (int64_t)take_u64(value.ptr + 2);
    r->epoch = take_u64(value.ptr + 10);
    r->begun = take_u64(value.ptr + 18);
    r->name = slice_of(value.ptr + head, name);
    r->query = slice_of(value.ptr + head + name, value.len - head - name);
    return true;
}

static void make_record(kept_t *k, buf_t *value)
{
    const group_t *g = k->user;
    group_record_put(value, &g->settings);
}

static void on_record(kept_t *k)
{
    group_t *g = k->user;
    g->touched = true;
}

/* ---- places by topic, and the live events */

static group_place_t **chain_of(const groups_t *gs, const ulid_t *topic)
{
    size_t h = 0;
    for (size_t i = 8; i < sizeof topic->b; i++) h = h * 31 + topic->b[i];      /* its random half */
    return &gs->by_topic[h & (gs->table_cap - 1)];
}

static void table_grow(groups_t *gs)
{
    groups_t old = *gs;

    if (gs->place_count < gs->table_cap) return;
    gs->table_cap = gs->table_cap ? 2 * gs->table_cap : 64;
    gs->by_topic = x_alloc(gs->table_cap * sizeof *gs->by_topic);
    for (size_t i = 0; i < old.table_cap; i++) {
        for (group_place_t *p = old.by_topic[i], *next; p; p = next) {
            group_place_t **chain = chain_of(gs, &p->place.key.topic);
            next = p->next_of_topic;
            p->next_of_topic = *chain;
            *chain = p;
        }
    }
    free(old.by_topic);
}

static void table_remove(groups_t *gs, const group_place_t *p)
{
    group_place_t **at = chain_of(gs, &p->place.key.topic);

    while (*at != p) at = &(*at)->next_of_topic;
    *at = p->next_of_topic;
    gs->place_count--;
}

static void on_events(log_follow_t *f, const log_event_t *events, size_t count)
{
    listener_t *l = f->user;

    for (size_t i = 0; i < count && l->all->table_cap; i++)
        for (group_place_t *p = *chain_of(l->all, &events[i].topic); p; p = p->next_of_topic)
            if (ulid_eq(&p->place.key.topic, &events[i].topic)) place_told(&p->place, &events[i]);
}

static listener_t *listener_take(groups_t *gs, const ulid_t *project)
{
    listener_t *l = gs->listeners;

    while (l && !ulid_eq(&l->follow.project, project)) l = l->next;
    if (!l) {
        l = x_alloc(sizeof *l);
        l->all = gs;
        l->follow.project = *project;
        l->follow.events = on_events;
        l->follow.user = l;
        l->next = gs->listeners;
        l->back = &gs->listeners;
        if (l->next) l->next->back = &l->next;
        gs->listeners = l;
        log_follow(gs->log, &l->follow);
    }
    l->groups++;
    return l;
}

static void listener_drop(groups_t *gs, listener_t *l)
{
    if (--l->groups) return;
    log_unfollow(gs->log, &l->follow);
    *l->back = l->next;
    if (l->next) l->next->back = l->back;
    free(l);
}

/* ---- acks that come before their event: behind a restart, from a member that has it from before */

static size_t early_at(const group_t *g, const rlid_t *id)
{
    size_t low = 0, high = g->early_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(&g->early[middle], id, sizeof *id) >= 0) high = middle;
        else low = middle + 1;
    }
    return low;
}

static bool early_has(const group_t *g, const rlid_t *id)
{
    size_t i = early_at(g, id);
    return i < g->early_count && memcmp(&g->early[i], id, sizeof *id) == 0;
}

static void early_add(group_t *g, const rlid_t *id)
{
    size_t i = early_at(g, id);

    if (g->early_count == EARLY_MOST || early_has(g, id)) return;
    if (g->early_count == g->early_cap) {
        g->early_cap = g->early_cap ? 2 * g->early_cap : 64;
        g->early = x_realloc(g->early, g->early_cap * sizeof *g->early);
    }
    memmove(&g->early[i + 1], &g->early[i], (g->early_count++ - i) * sizeof *g->early);
    g->early[i] = *id;
}

/* Once all places have caught up, no event can come that was acked before it. */
static void early_forget(group_t *g)
{
    const group_place_t *p = g->places;

    if (g->early_count == 0) return;
    while (p && p->place.live) p = p->next;
    if (!p) g->early_count = 0;
}

/* ---- a group's places */

static group_place_t *of_place(place_t *p)
{
    return (group_place_t *)p;          /* which begins with it */
}

static void on_touched(place_t *place)
{
    group_place_t *p = of_place(place);
    group_t *g = p->group;

    g->touched = true;
    if (p->busy) return;
    p->busy = true;
    p->next_busy = g->busy;
    g->busy = p;
}

static bool on_new_event(place_t *place, const rlid_t *id)
{
    const group_t *g = of_place(place)->group;
    return g->early_count > 0 && early_has(g, id);
}

static group_place_t *find_place(const group_t *g, const ulid_t *topic)
{
    group_place_t *p = g->all->table_cap ? *chain_of(g->all, topic) : NULL;

    while (p && (p->group != g || !ulid_eq(&p->place.key.topic, topic))) p = p->next_of_topic;
    return p;
}

static group_place_t *open_place(group_t *g, const group_topic_t *t)
{
    groups_t *gs = g->all;
    group_place_t *p = x_alloc(sizeof *p), **chain;
    uint64_t last = log_last(gs->log, &g->project), begin = g->settings.begun;
    place_key_t key;

    table_grow(gs);
    p->group = g;
    p->index = t->index;
    p->deathless = t->deathless;
    p->place.touched = on_touched;
    p->place.is_done = on_new_event;
    p->place.bytes = &g->bytes;
    p->place.told = g->listener->follow.from;
    if (t->has_offset) begin = t->offset < last ? t->offset : last;
    p->waited_for = t->has_offset;
    p->next = g->places;
    p->back = &g->places;
    if (p->next) p->next->back = &p->next;
    g->places = p;
    key.project = g->project;
    memcpy(key.group, g->id, GROUP_ID);
    key.topic = t->id;
    place_open(&p->place, gs->log, &key, begin);
    chain = chain_of(gs, &t->id);
    p->next_of_topic = *chain;
    *chain = p;
    gs->place_count++;
    return p;
}

static void close_place(group_place_t *p)
{
    table_remove(p->group->all, p);
    *p->back = p->next;
    if (p->next) p->next->back = p->back;
    place_close(&p->place);
    free(p);
}

/* ---- groups */

static group_t *find_group(const groups_t *gs, const ulid_t *project, const uint8_t id[GROUP_ID])
{
    group_t *g = gs->first;

    while (g && (!ulid_eq(&g->project, project) || memcmp(g->id, id, GROUP_ID) != 0)) g = g->next;
    return g;
}

bool groups_is_locked(const groups_t *gs, const ulid_t *project, const uint8_t id[GROUP_ID])
{
    const group_lock_t *l = gs->locks;

    while (l && (!ulid_eq(&l->project, project) || memcmp(l->id, id, GROUP_ID) != 0)) l = l->next;
    return l != NULL;
}

typedef struct tally_t { const ulid_t *project; size_t count; } tally_t;

static bool tally_group(void *user, ensign_slice_t key, ensign_slice_t value)
{
    tally_t *t = user;
    ulid_t project;
    uint8_t id[GROUP_ID];

    (void)value;
    if (group_key_read(key, &project, id) && ulid_eq(&project, t->project)) t->count++;
    return true;
}

/* Those that are stored, and those that are about to be. */
static size_t count_groups(const groups_t *gs, const ulid_t *project)
{
    tally_t t = { project, 0 };

    log_each(gs->log, "group/", tally_group, &t);
    for (const group_t *g = gs->first; g; g = g->next)
        if (ulid_eq(&g->project, project) && g->record.revision == 0) t.count++;
    return t.count;
}

static void free_group(group_t *g)
{
    while (g->places) close_place(g->places);
    kept_close(&g->record);
    listener_drop(g->all, g->listener);
    *g->back = g->next;
    if (g->next) g->next->back = g->back;
    select_free(&g->select);
    free(g->name);
    free(g->query);
    free(g->early);
    free(g);
}

/* Its settings are those of its record; or of the wish, where there is none. */
static void settle_group(group_t *g, const group_wish_t *w)
{
    log_t *log = g->all->log;
    ensign_slice_t value;
    bool found;

    group_key_put(&g->record.key, &g->project, g->id);
    g->record.make = make_record;
    g->record.done = on_record;
    g->record.user = g;
    found = kept_open(&g->record, log, &value) && group_record_read(&g->settings, value);
    if (!found) {
        g->settings.delivery = w->delivery;
        g->settings.ack_wait = w->ack_wait;
        g->settings.begun = log_last(log, &g->project);
        g->settings.name = w->name;
        g->settings.query = w->query;
    }
    if (!found || g->settings.epoch != log_epoch(log, &g->project)) {
        if (found) g->settings.begun = 0;       /* all that lies in a log that was made anew is new */
        g->settings.epoch = log_epoch(log, &g->project);
        kept_change(&g->record);
    }
    g->name = slice_dup(g->settings.name);
    g->query = slice_dup(g->settings.query);
    g->settings.name = slice_of(g->name, g->settings.name.len);
    g->settings.query = slice_of(g->query, g->settings.query.len);
}

static group_t *open_group(groups_t *gs, const group_wish_t *w)
{
    group_t *g = x_alloc(sizeof *g);

    g->all = gs;
    g->project = w->project;
    memcpy(g->id, w->id, GROUP_ID);
    g->members_end = &g->members;
    g->touched = true;
    g->listener = listener_take(gs, &w->project);
    settle_group(g, w);
    g->next = gs->first;
    g->back = &gs->first;
    if (g->next) g->next->back = &g->next;
    gs->first = g;
    return g;
}

static int64_t ack_wait_of(const group_t *g)
{
    return g->settings.ack_wait ? g->settings.ack_wait : g->all->rules.ack_wait;
}

static const char *delivery_name(group_delivery_t d)
{
    return d == GROUP_AT_MOST_ONCE ? "AT_MOST_ONCE" : "AT_LEAST_ONCE";
}

/* As an error names it: the front of its text. */
static void name_query(ensign_slice_t query, char out[QUERY_TEXT])
{
    msg_query_t q;
    char text[NEAR_TEXT];

    snprintf(out, QUERY_TEXT, "no query");
    if (query.len == 0 || !msg_decode(MSG_QUERY, &q, query)) return;
    quote(slice_of(q.query.ptr, q.query.len < QUERY_SHOWN ? q.query.len : QUERY_SHOWN), text);
    snprintf(out, QUERY_TEXT, "%.120s%s", text, q.query.len > QUERY_SHOWN ? "..." : "");
}

static bool same_query(const group_t *g, const group_wish_t *w, why_t *why)
{
    char has[QUERY_TEXT], asks[QUERY_TEXT];
    const char *the = g->settings.query.len ? "the query " : "";

    if (slice_eq(g->settings.query, w->query)) return true;
    name_query(g->settings.query, has);
    name_query(w->query, asks);
    if (strcmp(has, asks) == 0)
        return fail(why, "the group has other parameters, or another end, of the query %s than this member; "
                    "ask for the same, or take another group", has);
    return fail(why, "the group has %s%s, and this member asks for %s; ask for the same, or take another "
                "group", the, has, asks);
}

/* The first member has settled how the group delivers, and what. */
static bool agrees(const group_t *g, const group_wish_t *w, why_t *why)
{
    if (w->delivery != g->settings.delivery)
        return fail(why, "the group delivers %s, and this member asks for %s; ask for the same, or take "
                    "another group", delivery_name(g->settings.delivery), delivery_name(w->delivery));
    if (w->ack_wait && w->ack_wait != ack_wait_of(g))
        return fail(why, "the group has a delivery timeout of %" PRId64 " ms, and this member asks for %"
                    PRId64 " ms; ask for the same or for none, or take another group", ack_wait_of(g),
                    w->ack_wait);
    return same_query(g, w, why);
}

/* ---- members */

static bool takes(const member_t *m, const group_place_t *p)
{
    return p->index < m->bits && (m->topics[p->index / 8] >> (p->index % 8) & 1);
}

static void add_topics(member_t *m, const group_wish_t *w)
{
    for (size_t i = 0; i < w->topic_count; i++)
        if (w->topics[i].index >= m->bits) m->bits = w->topics[i].index + 1;
    m->topics = x_alloc(m->bits / 8 + 1);
    for (size_t i = 0; i < w->topic_count; i++) {
        group_place_t *p = find_place(m->group, &w->topics[i].id);
        if (!p) p = open_place(m->group, &w->topics[i]);
        m->topics[w->topics[i].index / 8] |= (uint8_t)(1u << (w->topics[i].index % 8));
        p->members++;
        place_idle(&p->place, false);
    }
}

static void list_member(member_t *m)
{
    group_t *g = m->group;

    m->next = NULL;
    m->back = g->members_end;
    *g->members_end = m;
    g->members_end = &m->next;
}

static void unlist_member(member_t *m)
{
    group_t *g = m->group;

    *m->back = m->next;
    if (m->next) m->next->back = m->back;
    else g->members_end = m->back;
}

member_t *group_join(groups_t *gs, const group_wish_t *wish, void *user, group_result_t *result, why_t *why)
{
    group_t *g = find_group(gs, &wish->project, wish->id);
    member_t *m;
    ensign_slice_t value;
    uint64_t revision;
    buf_t key = { NULL, 0, 0, 0 };
    bool known;

    *result = GROUP_LOCKED;
    if (groups_is_locked(gs, &wish->project, wish->id)) {
        fail(why, "the group is being changed; try again");
        return NULL;
    }
    group_key_put(&key, &wish->project, wish->id);
    known = g || log_get(gs->log, buf_bytes(&key), &value, &revision);
    buf_free(&key);
    *result = GROUP_TOO_MANY;
    if (!known && count_groups(gs, &wish->project) >= gs->rules.max_groups) {
        fail(why, "the project has %lu groups, as many as --max-groups allows; remove one, or raise it",
             (unsigned long)gs->rules.max_groups);
        return NULL;
    }
    if (!g) g = open_group(gs, wish);
    *result = GROUP_DIFFERS;
    if (!agrees(g, wish, why)) return NULL;     /* a group that was opened for it alone leaves by itself */
    *result = GROUP_OK;
    if (wish->select && !g->select.memory) {
        g->select = *wish->select;
        memset(wish->select, 0, sizeof *wish->select);
    }
    m = x_alloc(sizeof *m);
    m->group = g;
    m->user = user;
    m->serial = ++gs->serial;
    m->last = &m->first;
    list_member(m);
    g->member_count++;
    add_topics(m, wish);
    return m;
}

/* ---- what is out */

static void give(member_t *m, place_event_t *e, int64_t now)
{
    if (m->sent == m->given) m->moved = now;
    e->holder = m;
    e->number = ++m->given;
    e->next = NULL;
    e->back = m->last;
    *m->last = e;
    m->last = &e->next;
    if (!m->unsent) m->unsent = e;
    m->out++;
}

static void take_back(place_event_t *e)
{
    member_t *m = e->holder;

    if (m->unsent == e) m->unsent = e->next;
    *e->back = e->next;
    if (e->next) e->next->back = e->back;
    else m->last = e->back;
    e->holder = NULL;
    m->out--;
    m->group->touched = true;
}

void group_leave(member_t *m)
{
    group_t *g = m->group;

    while (m->first) {
        place_event_t *e = m->first;
        take_back(e);
        place_again(e->place, e, 0);
    }
    unlist_member(m);
    g->member_count--;
    g->touched = true;
    for (group_place_t *p = g->places; p; p = p->next) {
        if (!takes(m, p)) continue;
        if (--p->members == 0) place_idle(&p->place, true);
        on_touched(&p->place);          /* one that no other member wants may have waited for this one */
    }
    free(m->topics);
    free(m);
}

/* Its members keep their bits: no other topic gets its index. */
void groups_topic_gone(groups_t *gs, const ulid_t *topic)
{
    for (group_place_t *p = gs->table_cap ? *chain_of(gs, topic) : NULL; p; p = p->next_of_topic) {
        if (!ulid_eq(&p->place.key.topic, topic)) continue;
        for (uint64_t i = p->place.begin; i < p->place.end; i++) {
            place_event_t *e = place_at(&p->place, i);
            if (!e->holder) continue;
            take_back(e);
            place_again(&p->place, e, 0);
        }
        place_remove(&p->place);
    }
}

static int64_t again_ms(uint32_t failures)
{
    int64_t ms = AGAIN_FIRST_MS;
    for (uint32_t i = 1; i < failures && ms < AGAIN_MOST_MS; i++) ms *= 2;
    return ms < AGAIN_MOST_MS ? ms : AGAIN_MOST_MS;
}

/* It says that another member may do better. */
static bool is_refusal(int32_t code)
{
    return code == ENSIGN_NACK_UNHANDLED_MIMETYPE || code == ENSIGN_NACK_UNKNOWN_TYPE ||
           code == ENSIGN_NACK_DELIVER_AGAIN_NOT_ME;
}

/* A delivery has failed. */
static void failed(place_event_t *e, int32_t code, int64_t now)
{
    member_t *m = e->holder;
    group_t *g = m->group;
    group_place_t *p = of_place(e->place);

    take_back(e);
    if (e->failures < UINT32_MAX / 4) e->failures++;
    e->code = code > 0 ? code : ENSIGN_NACK_UNKNOWN;
    if (is_refusal(code)) {
        memmove(e->refusals + 1, e->refusals, sizeof e->refusals - sizeof *e->refusals);
        e->refusals[0] = m->serial;
    }
    if (e->failures >= g->all->rules.max_deliver && !p->deathless)
        place_dead(e->place, e, log_last(g->all->log, &g->project));
    else
        place_again(e->place, e, now + again_ms(e->failures));
}

/* When it has stalled, unless its queue moves before. 0: its queue is empty, or it has stalled already. */
static int64_t stalls_at(const member_t *m)
{
    return m->stalled || m->sent == m->given ? 0 : m->moved + ack_wait_of(m->group);
}

/* The copies in its queue stay there: they are delivered when it goes on. */
static void stall(member_t *m)
{
    m->stalled = m->blocked = true;
    while (m->unsent) {
        place_event_t *e = m->unsent;
        take_back(e);
        place_again(e->place, e, 0);
    }
}

static void expire(group_t *g, int64_t now)
{
    for (member_t *m = g->members; m; m = m->next) {
        int64_t due = stalls_at(m);
        while (m->first && m->first->due && m->first->due <= now) failed(m->first, ENSIGN_NACK_TIMEOUT, now);
        if (due && due <= now) stall(m);
    }
}

/* The member's own first: nearly all acks are for its oldest event. */
static place_event_t *find_event(const member_t *m, const rlid_t *id)
{
    place_event_t *e = m->first;

    while (e && memcmp(&e->id, id, sizeof *id) != 0) e = e->next;
    for (group_place_t *p = m->group->places; p && !e; p = p->next) e = place_find(&p->place, id);
    return e;
}

static bool may_come(const group_t *g, const rlid_t *id)
{
    for (const group_place_t *p = g->places; p; p = p->next)
        if (!p->place.live && memcmp(&p->place.last_id, id, sizeof *id) < 0) return true;
    return false;
}

static bool rlid_from(ensign_slice_t raw, rlid_t *id)
{
    if (raw.len != sizeof id->b) return false;
    memcpy(id->b, raw.ptr, sizeof id->b);
    return true;
}

void group_ack(member_t *m, ensign_slice_t raw)
{
    group_t *g = m->group;
    rlid_t id;
    place_event_t *e;

    if (!rlid_from(raw, &id)) return;
    e = find_event(m, &id);
    if (!e) {
        if (may_come(g, &id)) early_add(g, &id);
        return;
    }
    if (e->state == PLACE_DONE || of_place(e->place)->burying == e) return;
    if (e->holder) take_back(e);
    place_done(e->place, e);
}

void group_nack(member_t *m, ensign_slice_t raw, int32_t code, int64_t now)
{
    rlid_t id;
    place_event_t *e = rlid_from(raw, &id) ? find_event(m, &id) : NULL;

    if (e && e->holder == m) failed(e, code, now);
}

/* ---- who gets what */

static bool refused_by(const place_event_t *e, const member_t *m, size_t last)
{
    for (size_t i = 0; i < last; i++)
        if (e->refusals[i] == m->serial) return true;
    return false;
}

static bool has_room(member_t *m)
{
    const groups_t *gs = m->group->all;

    if (m->out >= gs->rules.max_unacked) return false;
    m->blocked = !gs->hooks->room(m->user);
    return !m->blocked;
}

/* The next member in turn that takes the event and did not refuse it; `last`: of how many refusals, the
   newest first. *others: there is such a member, with or without room. *room: somebody has room for events of
   this topic. One that has stalled is passed over: no event waits for it. */
static member_t *next_member(const group_place_t *p, const place_event_t *e, size_t last, bool *others,
                             bool *room)
{
    *others = false;
    for (member_t *m = p->group->members; m; m = m->next) {
        if (!m->begun || m->stalled || !takes(m, p)) continue;
        if (refused_by(e, m, last)) {
            *room = *room || has_room(m);
            continue;
        }
        *others = true;
        if (has_room(m)) return m;
    }
    return NULL;
}

/* To one that has not refused it, where there is one; else to another than the last one that did. */
static member_t *choose(const group_place_t *p, const place_event_t *e, bool *room)
{
    static const size_t lasts[] = { PLACE_REFUSALS, 1, 0 };
    bool others = false;
    member_t *m = NULL;

    *room = false;
    for (size_t i = 0; i < sizeof lasts / sizeof lasts[0] && !others; i++)
        m = next_member(p, e, e->refusals[0] ? lasts[i] : 0, &others, room);
    return m;
}

static log_event_t event_of(const place_event_t *e)
{
    log_event_t event;

    event.offset = e->offset;
    event.topic = e->place->key.topic;
    event.id = e->id;
    event.committed = e->committed;
    event.value = slice_of(e->value, e->len);
    return event;
}

/* An event is looked at once, when its turn comes. False: the query does not take it, and it is done; or so
   much work was made in this turn that it has to wait. */
static bool is_wanted(group_t *g, place_event_t *e)
{
    log_event_t event;
    const char *refused = NULL;

    if (e->wanted || g->select.where.root == 0) return true;
    if (g->work >= FILTER_WORK) return false;
    event = event_of(e);
    e->wanted = filter_takes(&g->select, &event, log_epoch(g->all->log, &g->project), &g->work, &refused);
    if (refused) log_line("group %s: an event is left out: %s", g->name, refused);
    if (e->wanted) return true;
    place_done(e->place, e);
    return false;
}

static void hand_over(group_t *g, member_t *m, place_event_t *e, int64_t now)
{
    place_t *p = e->place;
    log_event_t event = event_of(e);

    g->all->hooks->deliver(m->user, &event);
    unlist_member(m);
    list_member(m);
    if (e->state == PLACE_CLAIMED) {
        place_done(p, e);
        return;
    }
    place_out(p, e);
    give(m, e, now);
}

/* Of AT_MOST_ONCE: no more is claimed than the members with room could take at once. */
static bool may_claim(const group_place_t *p)
{
    size_t most = 0;

    for (member_t *m = p->group->members; m; m = m->next)
        if (m->begun && takes(m, p) && has_room(m)) most += p->group->all->rules.max_unacked;
    return p->place.counts[PLACE_CLAIMED] < most;
}

static void hand_out(group_place_t *p, int64_t now)
{
    group_t *g = p->group;
    bool at_most_once = g->settings.delivery == GROUP_AT_MOST_ONCE, room;
    uint64_t index = 0;

    for (place_event_t *e; (e = place_next(&p->place, &index)) != NULL;) {
        member_t *m;
        if (e->state == PLACE_READY && !is_wanted(g, e)) {
            if (g->work >= FILTER_WORK) break;
            continue;
        }
        if (at_most_once && e->state == PLACE_READY) {
            if (!may_claim(p)) break;
            place_claim(&p->place, e);
            continue;
        }
        m = choose(p, e, &room);
        if (m) hand_over(g, m, e, now);
        else if (!room) break;
    }
}

static void bury_next(group_place_t *p, int64_t now)
{
    const groups_t *gs = p->group->all;

    if (p->burying || p->place.idle || now < p->bury_due) return;
    p->burying = place_next_dead(&p->place);
    p->bury_due = 0;
    if (!p->burying) return;
    p->burying->burying = true;
    gs->hooks->bury(gs->user, p, p->burying);
}

void group_buried(group_place_t *p, bool done, int64_t now)
{
    place_event_t *e = p->burying;

    p->burying = NULL;
    e->burying = false;
    e->tried = true;
    if (done) {
        p->place.dead_letters++;
        place_done(&p->place, e);
    } else {
        p->bury_due = now + BURY_AGAIN_MS;
        on_touched(&p->place);
    }
}

/* ---- run */

static void sooner(int64_t *due, int64_t other)
{
    if (other && (*due == 0 || other < *due)) *due = other;
}

static bool is_over(const group_place_t *p)
{
    const group_t *g = p->group;

    if (!p->place.idle || p->burying || !place_is_stored(&p->place)) return false;
    if (p->place.counts[PLACE_WAIT] == 0 || p->place.removed) return true;
    return groups_is_locked(g->all, &g->project, g->id);
}

/* A place stays listed while it has events that wait for a member, or for their time. */
static bool run_place(group_place_t *p, int64_t now)
{
    group_t *g = p->group;
    int64_t due;

    place_wake(&p->place, now);
    hand_out(p, now);
    bury_next(p, now);
    due = place_run(&p->place);
    sooner(&g->due, due);
    if (!p->place.idle) sooner(&g->due, p->bury_due);
    return due || p->bury_due || p->place.counts[PLACE_READY] || p->place.counts[PLACE_CLAIMED];
}

static void run_places(group_t *g, int64_t now)
{
    group_place_t *p = g->busy, *next;

    g->busy = NULL;
    for (; p; p = next) {
        bool stays = run_place(p, now);
        next = p->next_busy;
        p->busy = false;
        if (is_over(p)) close_place(p);
        else if (stays) on_touched(&p->place);
    }
    g->touched = g->work >= FILTER_WORK;        /* else all that was touched has been looked at */
}

static bool is_ready_for(const group_t *g, const member_t *m)
{
    if (!kept_is_stored(&g->record)) return false;
    for (const group_place_t *p = g->places; p; p = p->next)
        if (p->waited_for && p->place.record.revision == 0 && takes(m, p)) return false;
    return true;
}

static void begin_members(group_t *g)
{
    for (member_t *m = g->members; m; m = m->next) {
        if (m->begun || !is_ready_for(g, m)) continue;
        m->begun = true;
        g->all->hooks->begin(m->user);
        for (group_place_t *p = g->places; p; p = p->next)
            if (takes(m, p)) on_touched(&p->place);
    }
}

static void run_group(group_t *g, int64_t now)
{
    g->due = 0;
    expire(g, now);
    kept_run(&g->record);
    begin_members(g);
    run_places(g, now);
    early_forget(g);
    for (const member_t *m = g->members; m; m = m->next) {
        if (m->first) sooner(&g->due, m->first->due);
        sooner(&g->due, stalls_at(m));
    }
}

void groups_run(groups_t *gs, int64_t now)
{
    for (group_t *g = gs->first, *next; g; g = next) {
        next = g->next;
        if (g->touched || (g->due && g->due <= now)) run_group(g, now);
        if (!g->members && !g->places && kept_is_stored(&g->record)) free_group(g);
    }
}

/* What its connection has taken since the last time. */
static void count_sent(member_t *m, int64_t now)
{
    uint64_t queued = m->sent < m->given ? m->group->all->hooks->queued(m->user) : 0;

    if (m->sent + queued >= m->given) return;   /* nothing, or a message that is no event */
    m->sent = m->given - queued;
    m->moved = now;
}

static void sent(member_t *m, int64_t now)
{
    group_t *g = m->group;

    count_sent(m, now);
    for (; m->unsent && m->unsent->number <= m->sent; m->unsent = m->unsent->next) {
        m->unsent->due = now + ack_wait_of(g);
        sooner(&g->due, m->unsent->due);
    }
    if (m->sent == m->given) m->stalled = false;
    if (!m->blocked || m->stalled || !g->all->hooks->room(m->user)) return;
    m->blocked = false;
    g->touched = true;
}

void groups_sent(groups_t *gs, int64_t now)
{
    for (group_t *g = gs->first; g; g = g->next) {
        g->work = 0;
        for (member_t *m = g->members; m; m = m->next) sent(m, now);
    }
}

int64_t groups_due(const groups_t *gs)
{
    int64_t due = 0;

    for (const group_t *g = gs->first; g; g = g->next) sooner(&due, g->touched ? 1 : g->due);
    return due;
}

bool groups_busy(const groups_t *gs)
{
    for (const group_t *g = gs->first; g; g = g->next) {
        if (!kept_is_stored(&g->record)) return true;
        for (const group_place_t *p = g->places; p; p = p->next)
            if (p->burying || !place_is_stored(&p->place)) return true;
    }
    return false;
}

groups_t *groups_open(log_t *log, const group_rules_t *rules, const group_hooks_t *hooks, void *user)
{
    groups_t *gs = x_alloc(sizeof *gs);

    gs->log = log;
    gs->rules = *rules;
    gs->hooks = hooks;
    gs->user = user;
    return gs;
}

void groups_close(groups_t *gs)
{
    if (!gs) return;
    while (gs->first) {
        while (gs->first->members) group_leave(gs->first->members);
        free_group(gs->first);
    }
    free(gs->by_topic);
    free(gs);
}

/* ---- for the service Groups */

const char *group_name(const group_t *g)
{
    return g->name;
}

const uint8_t *group_id(const group_t *g)
{
    return g->id;
}

const group_t *groups_find(const groups_t *gs, const ulid_t *project, const uint8_t id[GROUP_ID])
{
    return find_group(gs, project, id);
}

int64_t groups_ack_wait(const groups_t *gs)
{
    return gs->rules.ack_wait;
}

size_t group_members(const group_t *g)
{
    return g->member_count;
}

bool group_has_heard(const group_t *g)
{
    return g->listener->follow.from >= log_last(g->all->log, &g->project);
}

bool groups_has_place(const groups_t *gs, const place_key_t *key)
{
    const group_t *g = find_group(gs, &key->project, key->group);
    buf_t b = { NULL, 0, 0, 0 };
    ensign_slice_t value;
    uint64_t revision;
    bool has;

    if (g && find_place(g, &key->topic)) return true;
    place_key_put(&b, key);
    has = log_get(gs->log, buf_bytes(&b), &value, &revision);
    buf_free(&b);
    return has;
}

const place_t *group_place(const group_t *g, const ulid_t *topic)
{
    const group_place_t *p = find_place(g, topic);
    return p ? &p->place : NULL;
}

void groups_lock(groups_t *gs, group_lock_t *lock)
{
    lock->next = gs->locks;
    lock->back = &gs->locks;
    if (lock->next) lock->next->back = &lock->next;
    gs->locks = lock;
    for (group_t *g = gs->first; g; g = g->next)
        for (group_place_t *p = g->places; p; p = p->next) on_touched(&p->place);
}

void groups_unlock(group_lock_t *lock)
{
    *lock->back = lock->next;
    if (lock->next) lock->next->back = lock->back;
}
