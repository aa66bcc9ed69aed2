/* ensignd_log_model.c - random requests to a log, beside a simple model of what it may answer
 *
 * Each run asks for some hundred things in the order of a seed: appends, reads, amendments, destructions,
 * puts, followers that come and go, requests that are cancelled. An event's value and a record's value are
 * numbers that come once, so the model knows each by what it reads. What it cannot know at the time, because
 * a read may overtake an append, it looks at in the end, when it knows all offsets. The engines are the late
 * one, with timeouts that are never reached and with some that are, and SQLite, in memory and in a folder,
 * which is closed in the middle of it and opened again.
 *
 *     SEED=n    this one run alone */
#include "logs.h"

enum { PROJECTS = 2, TOPICS = 4, KEYS = 4, EVENTS_MOST = 1200, OPS_MOST = 900, STEPS = 600, FOLLOWERS = 5 };

typedef struct event_t {
    char     topic;
    uint32_t value, amended;            /* amended: 0 while nobody has asked for it */
    uint64_t amended_at;                /* step of the answer; 0: none so far, or it failed */
    uint64_t appended_at, gone_at;      /* the same */
    bool     may_lack;                  /* its topic was to be destroyed, or its append failed */
    uint64_t offset;                    /* 0: not known yet */
    rlid_t   id;
    bool     has_id;
} event_t;

typedef struct model_project_t { ulid_t id; event_t events[EVENTS_MOST]; size_t count; } model_project_t;

typedef enum { OP_APPEND, OP_READ, OP_AMEND, OP_DESTROY, OP_PUT, OP_KINDS } op_kind_t;

typedef struct op_t {
    union {
        log_request_t base;
        log_append_t  append;
        log_read_t    read;
        log_amend_t   amend;
        log_destroy_t destroy;
        log_put_t     put;
    } r;
    op_kind_t kind;
    uint64_t  asked_at;
    bool      flies;                    /* asked, and neither answered nor cancelled */
    int       project;
    size_t    first;                    /* of an append's events; of an amendment the event */
    log_new_t events[4];
    ulid_t    topics[TOPICS];
    char      wanted[TOPICS + 1];
    bool      got[EVENTS_MOST];         /* by a read */
    bool      answered;
    char      text[64];
    uint32_t  value;                    /* of a put; 0: it removes */
    int       key;
    uint64_t  expected;                 /* revision */
    bool      heard;
} op_t;

typedef struct follower_t {
    log_follow_t f;
    int          project;
    uint64_t     from;
    bool         got[EVENTS_MOST], on;
    size_t       last;                  /* the index of the last event that it heard; SIZE_MAX: none so far */
} follower_t;

static model_project_t projects[PROJECTS];
static op_t *ops[OPS_MOST];
static size_t op_count;
static follower_t followers[FOLLOWERS];
static bool destroying[PROJECTS][TOPICS];       /* asked for and not answered: nobody appends to it */
static uint64_t known[KEYS];                    /* revisions; 0: no record */
static uint32_t known_value[KEYS];
static uint64_t stale[KEYS];
static log_watch_t watch;
static uint64_t seed, chance, step;
static uint32_t values;
static char folder[] = "/tmp/ensignd_model.XXXXXX";

static uint32_t draw(uint32_t n)
{
    chance = chance * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(chance >> 33) % n;
}

#define SURE(condition) \
    do { \
        if (!(condition)) \
            fail_msg("SEED=%" PRIu64 ", step %" PRIu64 ": not so: %s", seed, step, #condition); \
    } while (0)

/* ---- what is known of events */

static uint32_t number_in(ensign_slice_t value)
{
    char text[12];

    SURE(value.len >= 10);
    memcpy(text, value.ptr, 10);
    text[10] = '\0';
    return (uint32_t)strtoul(text, NULL, 10);
}

/* Ten digits, and some more bytes. */
static ensign_slice_t new_value(char *text, size_t cap)
{
    size_t n = 10 + draw((uint32_t)cap - 10);

    memset(text, '.', cap);
    snprintf(text, cap, "%010u", (unsigned)++values);
    text[10] = '.';
    return slice_of(text, n);
}

/* The event that the log gives: its index. */
static size_t recognise(model_project_t *p, const log_event_t *e)
{
    uint32_t value = number_in(e->value);
    size_t i = 0;

    while (i < p->count && p->events[i].value != value && p->events[i].amended != value) i++;
    SURE(i < p->count);
    SURE(p->events[i].topic == (char)e->topic.b[0]);
    SURE(!p->events[i].offset || p->events[i].offset == e->offset);
    SURE(!p->events[i].has_id || memcmp(&p->events[i].id, &e->id, sizeof e->id) == 0);
    p->events[i].offset = e->offset;
    p->events[i].id = e->id;
    p->events[i].has_id = true;
    return i;
}

/* An event in an answer to what was asked for in step `asked`. */
static size_t may_show(model_project_t *p, const log_event_t *e, uint64_t asked)
{
    size_t i = recognise(p, e);
    const event_t *m = &p->events[i];

    SURE(!m->gone_at || m->gone_at >= asked);
    if (number_in(e->value) == m->value) SURE(!m->amended_at || m->amended_at >= asked);
    return i;
}

/* ---- requests */

static op_t *op_new(op_kind_t kind, void (*done)(log_request_t *))
{
    op_t *o = x_alloc(sizeof *o);

    SURE(op_count < OPS_MOST);
    ops[op_count++] = o;
    o->kind = kind;
    o->asked_at = step;
    o->flies = true;
    o->project = (int)draw(PROJECTS);
    o->r.base.done = done;
    o->r.base.user = o;
    return o;
}

static op_t *landed(log_request_t *r)
{
    op_t *o = r->user;

    SURE(o->flies);
    SURE(r->result == LOG_OK || r->result == LOG_CHANGED || r->result == LOG_FAILED);
    SURE(r->result != LOG_CHANGED || o->kind == OP_PUT);
    o->flies = false;
    o->answered = r->result != LOG_FAILED;
    return o;
}

static bool any_flies(op_kind_t kind, int project, int topic)
{
    for (size_t i = 0; i < op_count; i++) {
        const op_t *o = ops[i];
        if (!o->flies || o->kind != kind || o->project != project) continue;
        if (kind != OP_APPEND) return true;
        for (size_t k = 0; k < o->r.append.count; k++)
            if (o->events[k].topic.b[0] == 'a' + topic) return true;
    }
    return false;
}

static void appended(log_request_t *r)
{
    op_t *o = landed(r);
    model_project_t *p = &projects[o->project];

    for (size_t i = 0; i < op_count && ops[i] != o; i++)        /* none overtakes another */
        SURE(!(ops[i]->flies && ops[i]->kind == OP_APPEND && ops[i]->project == o->project));
    for (size_t i = 0; i < o->r.append.count; i++) {
        event_t *m = &p->events[o->first + i];
        free((void *)o->events[i].value.ptr);
        if (!o->answered) {
            m->may_lack = true;
            continue;
        }
        SURE(o->events[i].offset > 0);
        SURE(!m->offset || m->offset == o->events[i].offset);
        m->offset = o->events[i].offset;
        m->appended_at = step;
    }
}

static void ask_append(void)
{
    op_t *o = op_new(OP_APPEND, appended);
    model_project_t *p = &projects[o->project];
    size_t n = 1 + draw(4);

    o->first = p->count;
    for (size_t i = 0; i < n && p->count < EVENTS_MOST; i++) {
        int topic = (int)draw(TOPICS);
        char text[64];
        ensign_slice_t value;
        if (destroying[o->project][topic]) continue;
        value = new_value(text, sizeof text);
        p->events[p->count].topic = (char)('a' + topic);
        p->events[p->count++].value = values;
        o->events[o->r.append.count].topic = id_of((char)('a' + topic));
        o->events[o->r.append.count++].value = slice_of(slice_dup(value), value.len);
    }
    o->r.append.project = p->id;
    o->r.append.events = o->events;
    o->flies = o->r.append.count > 0;
    if (o->flies) log_append(logs, &o->r.append);
}

static void did_read(log_request_t *r)
{
    op_t *o = landed(r);
    const log_read_t *q = &o->r.read;
    model_project_t *p = &projects[o->project];
    uint64_t before = q->by_id ? 0 : q->after;
    size_t bytes = 0;

    if (!o->answered) return;
    SURE(q->count <= q->most_events);
    SURE(q->end || q->reached > before || q->by_id);
    for (size_t k = 0; k < q->count; k++) {
        const log_event_t *e = &q->events[k];
        SURE(e->offset > before && e->offset <= q->until && e->offset <= q->reached);
        SURE(!q->by_id || memcmp(&e->id, &q->id, sizeof e->id) >= 0);
        SURE(!q->topic_count || strchr(o->wanted, e->topic.b[0]));
        SURE(!q->most_bytes || bytes < q->most_bytes);
        bytes += e->value.len;
        before = e->offset;
        o->got[may_show(p, e, o->asked_at)] = true;
    }
}

static uint64_t some_offset(const model_project_t *p)
{
    return p->count ? p->events[draw((uint32_t)p->count)].offset : 0;
}

static void ask_read(void)
{
    op_t *o = op_new(OP_READ, did_read);
    log_read_t *q = &o->r.read;
    const model_project_t *p = &projects[o->project];

    q->project = p->id;
    q->after = draw(3) ? some_offset(p) : 0;
    q->until = draw(3) ? UINT64_MAX : some_offset(p);
    if (p->count && draw(4) == 0) {
        const event_t *m = &p->events[draw((uint32_t)p->count)];
        q->by_id = m->has_id;
        q->id = m->id;
    }
    q->most_events = draw(3) ? 1 + draw(12) : SIZE_MAX;
    q->most_bytes = draw(3) ? 0 : 1 + draw(300);
    for (int t = 0; t < TOPICS && draw(3); t++) {
        if (draw(2)) continue;
        o->wanted[q->topic_count] = (char)('a' + t);
        o->topics[q->topic_count++] = id_of((char)('a' + t));
    }
    q->topics = o->topics;
    log_read(logs, q);
}

static void amended(log_request_t *r)
{
    op_t *o = landed(r);
    event_t *m = &projects[o->project].events[o->first];

    if (!o->answered) return;
    SURE(o->r.amend.found ? !m->gone_at || m->gone_at >= o->asked_at : m->may_lack);
    if (o->r.amend.found) m->amended_at = step;
}

/* Each event once at most. */
static void ask_amend(void)
{
    op_t *o = op_new(OP_AMEND, amended);
    model_project_t *p = &projects[o->project];
    event_t *m;

    o->first = p->count ? draw((uint32_t)p->count) : 0;
    m = &p->events[o->first];
    o->flies = p->count && m->offset && m->appended_at && !m->amended;
    if (!o->flies) return;
    o->r.amend.project = p->id;
    o->r.amend.topic = id_of(m->topic);
    o->r.amend.offset = m->offset;
    o->r.amend.value = new_value(o->text, sizeof o->text);
    m->amended = values;
    log_amend(logs, &o->r.amend);
}

static void destroyed(log_request_t *r)
{
    op_t *o = landed(r);
    model_project_t *p = &projects[o->project];

    if (!o->answered) return;   /* then nobody appends to it any more: it may still come */
    for (size_t i = 0; i < o->first; i++)
        if (p->events[i].topic == (char)o->r.destroy.topic.b[0] && !p->events[i].gone_at)
            p->events[i].gone_at = step;
    destroying[o->project][o->r.destroy.topic.b[0] - 'a'] = false;
}

static void ask_destroy(void)
{
    op_t *o = op_new(OP_DESTROY, destroyed);
    model_project_t *p = &projects[o->project];
    int topic = (int)draw(TOPICS);

    o->flies = !destroying[o->project][topic] && !any_flies(OP_APPEND, o->project, topic);
    if (!o->flies) return;
    destroying[o->project][topic] = true;
    for (size_t i = 0; i < p->count; i++)
        if (p->events[i].topic == 'a' + topic) p->events[i].may_lack = true;
    o->first = p->count;
    o->r.destroy.project = p->id;
    o->r.destroy.topic = id_of((char)('a' + topic));
    log_destroy(logs, &o->r.destroy);
}

/* ---- metadata */

static ensign_slice_t key_of(int key)
{
    static const char *const keys[KEYS] = { "k/a", "k/aa", "k/b", "k" };
    return slice_text(keys[key]);
}

static void hear_put(int key, uint32_t value, uint64_t before)
{
    for (size_t i = 0; i < op_count; i++) {
        op_t *o = ops[i];
        if (o->kind != OP_PUT || o->value != value || o->key != key || o->heard) continue;
        if (!value && o->expected != before && o->expected != LOG_ANY_REVISION) continue;
        SURE(o->expected == before || o->expected == LOG_ANY_REVISION);
        o->heard = true;
        return;
    }
    SURE(!value);       /* else nobody has put that, or it was heard twice */
}

static void changed(void *user, ensign_slice_t key, ensign_slice_t value)
{
    ensign_slice_t now;
    uint64_t revision = 0;
    int k = 0;

    SURE(user == &watch);
    while (!slice_eq(key_of(k), key)) {
        k++;
        SURE(k < KEYS);
    }
    SURE(log_get(logs, key, &now, &revision) == (value.len > 0));
    SURE(!value.len || slice_eq(now, value));
    hear_put(k, value.len ? number_in(value) : 0, known[k]);
    stale[k] = known[k];
    known[k] = value.len ? revision : 0;
    known_value[k] = value.len ? number_in(value) : 0;
}

static void did_put(log_request_t *r)
{
    op_t *o = landed(r);

    if (r->result == LOG_OK) SURE(o->heard || !o->value);
    if (r->result == LOG_OK && known_value[o->key] == o->value && o->value)
        SURE(o->r.put.revision == known[o->key]);
    if (r->result == LOG_CHANGED) {
        SURE(!o->heard || !o->value);
        SURE(o->expected != LOG_ANY_REVISION);
        SURE(!o->expected || known[o->key] != o->expected);
    }
}

static void ask_put(void)
{
    op_t *o = op_new(OP_PUT, did_put);
    int key = o->key = (int)draw(KEYS);
    const uint64_t revisions[5] = { 0, known[key], known[key], stale[key], LOG_ANY_REVISION };

    o->expected = revisions[draw(5)];
    o->r.put.key = key_of(key);
    o->r.put.revision = o->expected;
    if (draw(5)) {
        o->r.put.value = new_value(o->text, sizeof o->text);
        o->value = values;
    }
    log_put(logs, &o->r.put);
}

/* ---- followers */

static void told(log_follow_t *f, const log_event_t *events, size_t count)
{
    follower_t *w = f->user;
    model_project_t *p = &projects[w->project];

    SURE(count > 0);
    for (size_t k = 0; k < count; k++) {
        size_t i = recognise(p, &events[k]);
        SURE(events[k].offset > w->from);
        SURE(w->last == SIZE_MAX || i > w->last);
        w->last = i;
        w->got[i] = true;
    }
}

/* Behind its beginning, up to what it heard last or to the end, nothing is missing. */
static void heard_all(const follower_t *w, bool to_the_end)
{
    const model_project_t *p = &projects[w->project];

    for (size_t i = 0; i < p->count; i++) {
        const event_t *m = &p->events[i];
        if (m->may_lack || m->offset <= w->from || w->got[i]) continue;
        SURE(!to_the_end && (w->last == SIZE_MAX || i > w->last));
    }
}

static void change_follower(void)
{
    follower_t *w = &followers[draw(FOLLOWERS)];

    if (w->on) {
        log_unfollow(logs, &w->f);
        w->on = false;
        return;
    }
    if (w->f.user && draw(3)) return;   /* what it heard is looked at in the end */
    memset(w, 0, sizeof *w);
    w->project = (int)draw(PROJECTS);
    w->f.project = projects[w->project].id;
    w->f.events = told;
    w->f.user = w;
    w->last = SIZE_MAX;
    w->on = true;
    log_follow(logs, &w->f);
    w->from = w->f.from;
    SURE(w->from == log_last(logs, &w->f.project));
    for (size_t i = 0; i < projects[w->project].count; i++) {   /* what is answered lies behind */
        const event_t *m = &projects[w->project].events[i];
        if (m->appended_at) SURE(m->offset <= w->from);
    }
}

/* ---- a run */

static void cancel_one(void)
{
    op_t *o = op_count ? ops[draw((uint32_t)op_count)] : NULL;

    if (!o || !o->flies || o->kind == OP_APPEND) return;
    o->flies = false;
    log_cancel(logs, &o->r.base);
    memset(&o->r.base, 0x5a, sizeof o->r.base); /* the log has no more use for it */
}

static void one_step(void)
{
    uint32_t what = draw(100);

    step++;
    if (what < 30) ask_append();
    else if (what < 52) ask_read();
    else if (what < 58) ask_amend();
    else if (what < 60) ask_destroy();
    else if (what < 76) ask_put();
    else if (what < 80) change_follower();
    else if (what < 84) cancel_one();
    if (draw(2)) turn();
}

/* All that is there, by pages: what is sure to be there is there, in the order in which it was asked for. */
static void read_all(int project)
{
    static bool there[EVENTS_MOST];
    model_project_t *p = &projects[project];
    log_read_t r;
    size_t last = 0;
    bool first = true;

    memset(there, 0, sizeof there);
    memset(&r, 0, sizeof r);
    r.project = p->id;
    r.until = UINT64_MAX;
    for (r.end = false; !r.end; r.after = r.reached) {
        r.most_events = 1 + draw(50);
        do ANSWER(log_read, &r);
        while (r.base.result == LOG_FAILED);
        for (size_t k = 0; k < r.count; k++) {
            size_t i = may_show(p, &r.events[k], step);
            SURE(first || (i > last && memcmp(&p->events[i].id, &p->events[last].id, sizeof(rlid_t)) > 0));
            SURE(first || p->events[i].offset > p->events[last].offset);
            last = i;
            first = false;
            there[i] = true;
        }
    }
    for (size_t i = 0; i < p->count; i++) SURE(there[i] || p->events[i].may_lack);
}

/* Whatever lies in the range that a read has looked at was in its answer. */
static void reads_were_whole(void)
{
    for (size_t n = 0; n < op_count; n++) {
        const op_t *o = ops[n];
        const log_read_t *q = &o->r.read;
        const model_project_t *p = &projects[o->project];
        if (o->kind != OP_READ || !o->answered) continue;
        for (size_t i = 0; i < p->count; i++) {
            const event_t *m = &p->events[i];
            if (m->may_lack || o->got[i] || m->offset > q->until) continue;
            if (q->by_id ? memcmp(&m->id, &q->id, sizeof m->id) < 0 : m->offset <= q->after) continue;
            if (q->topic_count && !strchr(o->wanted, m->topic)) continue;
            SURE(m->offset > q->reached);
            SURE(!q->end || !m->appended_at || m->appended_at >= o->asked_at);
        }
    }
}

static bool match_record(void *user, ensign_slice_t key, ensign_slice_t value)
{
    for (int k = 0; k < KEYS; k++) {
        if (!slice_eq(key, key_of(k))) continue;
        SURE(known[k]);
        SURE(number_in(value) == known_value[k]);
        ++*(size_t *)user;
    }
    return true;
}

static void records_match(void)
{
    size_t there = 0, wanted = 0;

    for (int k = 0; k < KEYS; k++) wanted += known[k] != 0;
    log_each(logs, "", match_record, &there);
    SURE(there == wanted);
}

static void begin(const log_engine_t *engine, const char *where, int64_t timeout)
{
    logs = log_open(engine, where, LOG_WRITE, timeout, &why);
    if (!logs) fail_msg("SEED=%" PRIu64 ": %s", seed, why.text);
    memset(&watch, 0, sizeof watch);
    watch.prefix = "k";
    watch.changed = changed;
    watch.user = &watch;
    log_watch(logs, &watch);
}

/* The process dies: what has no answer may be there or not. Of a record that is being put the model knows no
   more. */
static void die_and_come_back(void)
{
    log_close(logs);
    for (size_t i = 0; i < op_count; i++) {
        op_t *o = ops[i];
        if (o->flies && o->kind == OP_APPEND) {
            for (size_t k = 0; k < o->r.append.count; k++) {
                projects[o->project].events[o->first + k].may_lack = true;
                free((void *)o->events[k].value.ptr);
            }
        }
        o->flies = false;
    }
    memset(followers, 0, sizeof followers);
    begin(&log_sqlite, folder, TIMEOUT_MS);
    step++;
}

static void forget_all(void)
{
    log_close(logs);
    for (size_t i = 0; i < op_count; i++) free(ops[i]);
    op_count = 0;
    memset(projects, 0, sizeof projects);
    memset(followers, 0, sizeof followers);
    memset(destroying, 0, sizeof destroying);
    memset(known, 0, sizeof known);
    memset(stale, 0, sizeof stale);
    memset(known_value, 0, sizeof known_value);
}

static void run_model(const log_engine_t *engine, const char *where, int64_t timeout)
{
    chance = seed * 2 + 1;
    step = 1;
    values = 0;
    for (int i = 0; i < PROJECTS; i++) projects[i].id = id_of((char)('p' + i));
    begin(engine, where, timeout);
    while (step < STEPS) one_step();
    step++;
    if (where == folder) {
        die_and_come_back();
    } else {
        turn_all();
        for (size_t i = 0; i < op_count; i++) SURE(!ops[i]->flies);
        records_match();
    }
    for (int i = 0; i < PROJECTS; i++) read_all(i);
    reads_were_whole();
    for (int i = 0; i < FOLLOWERS; i++)
        if (followers[i].f.user) heard_all(&followers[i], followers[i].on);
    forget_all();
    if (where == folder) {
        remove_folder(folder);
        assert_int_equal(mkdir(folder, 0700), 0);
    }
}

/* Those of one engine, or the one that SEED names. */
static void runs(uint64_t count, void (*one)(void))
{
    const char *only = getenv("SEED"), *fewer = getenv("FEWER");
    uint64_t by = fewer ? strtoull(fewer, NULL, 10) : 1;

    for (seed = 1; seed <= count; seed += by ? by : 1) {
        if (only) seed = strtoull(only, NULL, 10);
        one();
        if (only) return;
    }
}

static void over_late(void)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, seed);
    run_model(&log_late, text, TIMEOUT_MS);
}

/* Most requests that fail once have no time for another attempt. */
static void over_late_in_a_hurry(void)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, seed);
    run_model(&log_late, text, 50);
}

static void over_memory(void)
{
    run_model(&log_sqlite, NULL, TIMEOUT_MS);
}

static void over_folder(void)
{
    run_model(&log_sqlite, folder, TIMEOUT_MS);
}

static void the_late_engine_is_a_log(void **state)
{
    (void)state;
    runs(300, over_late);
}

static void what_fails_for_good_breaks_nothing(void **state)
{
    (void)state;
    runs(300, over_late_in_a_hurry);
}

static void sqlite_in_memory_is_a_log(void **state)
{
    (void)state;
    runs(60, over_memory);
}

static void sqlite_in_a_folder_keeps_what_it_answered(void **state)
{
    (void)state;
    runs(30, over_folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_late_engine_is_a_log),
        cmocka_unit_test(what_fails_for_good_breaks_nothing),
        cmocka_unit_test(sqlite_in_memory_is_a_log),
        cmocka_unit_test(sqlite_in_a_folder_keeps_what_it_answered),
    };
    int failed;

    if (!mkdtemp(folder)) return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove_folder(folder);
    return failed;
}
