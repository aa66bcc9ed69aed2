/* subscribe.c - ensign subscribe: prints events as they are published, and acknowledges what was printed */
#include "event.h"
#include "session.h"
#include <inttypes.h>
#include <string.h>

#define UNACKED_MAX 256         /* printed, and not yet written out */
#define LAST_ACKS_MS 1000

typedef struct subscribe_t {
    session_t s;
    const options_t *o;
    ensign_subscription_t sub;
    uint64_t tokens[UNACKED_MAX];
    size_t   unacked;
    uint64_t received, bytes, gaps;
    uint64_t start_ms, last_ms;
    bool     ended, late;
} subscribe_t;

/* An event counts as handled once it has left this process. */
static void acknowledge(subscribe_t *t)
{
    out_flush();
    for (size_t i = 0; i < t->unacked && out_failed() == 0; i++)
        ensign_ack(t->s.c, t->sub, t->tokens[i]); /* E_STALE: of an earlier stream; no harm */
    t->unacked = 0;
}

static void take_event(subscribe_t *t, const ensign_event_t *e)
{
    event_print(t->o, e, t->o->args.count != 1);
    t->received++;
    t->bytes += e->data.len;
    t->last_ms = ensign_now_ms();
    t->tokens[t->unacked++] = e->token;
    if (t->unacked == UNACKED_MAX) acknowledge(t);
}

static void take_gap(subscribe_t *t, const ensign_notice_t *n)
{
    const char *text = n->error ? n->error->text : "no reason was given";
    char since[TIME_TEXT];

    t->gaps++;
    if (t->o->json) {
        json_object(NULL);
        json_text("kind", "gap");
        json_time("since", n->as.gap.since);
        json_text("error", text);
        json_close();
    } else {
        text_time(n->as.gap.since, since);
        say("%s%s%s%s", text, since[0] ? " (since " : "", since, since[0] ? ")" : "");
    }
}

static bool has_all(const subscribe_t *t)
{
    return t->o->count > 0 && t->received >= t->o->count;
}

/* Was this topic asked for, and is not there? */
static bool is_missing(const subscribe_t *t, const char *topic)
{
    ensign_slice_t name;
    ensign_ulid_t id, asked;
    size_t at = 0, len = strlen(topic);
    bool by_id = topic_is_id(topic, &asked);

    while (ensign_open_next(t->s.c, t->sub.id, ENSIGN_OPEN_MISSING, &at, &name, &id))
        if (by_id ? memcmp(&id, &asked, sizeof id) == 0
                  : name.len == len && memcmp(name.ptr, topic, len) == 0)
            return true;
    return false;
}

/* A name with a typo would bring nothing, in silence. */
static void take_open(const subscribe_t *t, uint32_t times)
{
    const list_t *topics = &t->o->args;
    const char *first = NULL;
    size_t there = 0;

    for (size_t i = 0; i < topics->count; i++) {
        if (is_missing(t, topics->at[i])) continue;
        if (there++ == 0) first = topics->at[i];
    }
    if (times > 1) say("open again");
    else if (topics->count == 0) say("open, all topics");
    else if (there == 1) say("open, %s", first);
    else if (there > 1) say("open, %s and %zu more", first, there - 1);
    for (size_t i = 0; i < topics->count; i++)
        if (is_missing(t, topics->at[i])) say("there is no topic \"%s\"; it brings no events", topics->at[i]);
}

static void take_notices(subscribe_t *t)
{
    const ensign_notice_t *n;

    while (!has_all(t) && (n = session_pull(&t->s)) != NULL) {
        if (n->handle != t->sub.id) continue;
        if (n->type == ENSIGN_NOTICE_OPEN) {
            take_open(t, n->as.open.times);
            t->last_ms = ensign_now_ms();
        }
        if (n->type == ENSIGN_NOTICE_EVENT) take_event(t, n->as.event);
        if (n->type == ENSIGN_NOTICE_GAP) take_gap(t, n);
        if (n->type != ENSIGN_NOTICE_END) continue;
        if (n->error) session_error(&t->s, NULL, n->error);
        t->ended = true;
    }
    acknowledge(t);
}

/* Milliseconds to the nearer of --timeout and --idle; -1: neither is given. */
static int left_ms(const subscribe_t *t)
{
    const uint64_t limits[2][2] = { { t->o->timeout_ms, t->start_ms }, { t->o->idle_ms, t->last_ms } };
    uint64_t now = ensign_now_ms();
    int least = -1;

    for (int i = 0; i < 2; i++) {
        uint64_t gone = now - limits[i][1], left = gone < limits[i][0] ? limits[i][0] - gone : 0;
        if (limits[i][0] == 0) continue;
        if (left > 1000000000) left = 1000000000; /* waits again */
        if (least < 0 || (int)left < least) least = (int)left;
    }
    return least;
}

static void loop(subscribe_t *t)
{
    while (!t->ended && !has_all(t)) {
        int ms = left_ms(t);
        woke_t woke;
        if (ms == 0) {
            t->late = true;
            if (!t->s.settled) session_late(&t->s, t->sub.id);
            return;
        }
        woke = session_wait(&t->s, -1, ms);
        if (woke == WOKE_STOP || woke == WOKE_OVER) return;
        take_notices(t);
    }
}

/* The last acks leave, and the server learns that we go. */
static void leave(subscribe_t *t)
{
    uint64_t start = ensign_now_ms();

    if (t->s.over || t->ended) return;
    ensign_close(t->s.c, ENSIGN_CLIENT, LAST_ACKS_MS);
    while (!t->s.over && ensign_now_ms() - start < LAST_ACKS_MS) {
        ensign_wait(t->s.c, NULL, 0, LAST_ACKS_MS);
        while (session_pull(&t->s) != NULL) continue;
    }
}

static void summary(const subscribe_t *t)
{
    double seconds = (double)(ensign_now_ms() - t->start_ms) / 1000;
    char count[NUMBER_TEXT], size[NUMBER_TEXT], time[NUMBER_TEXT];

    if (!t->s.settled && t->s.status != EXIT_DONE) return;
    say("%s event%s received, %s, in %s%s", text_number(t->received, count), t->received == 1 ? "" : "s",
        text_size((double)t->bytes, size), text_duration(seconds, time),
        t->gaps ? "; some may be missing" : "");
}

static bool open_subscription(subscribe_t *t)
{
    ensign_subscription_desc_t d;

    if (!session_open(&t->s, t->o, true)) return false;
    memset(&d, 0, sizeof d);
    d.topics = (const char *const *)t->o->args.at;
    d.topic_count = t->o->args.count;
    d.ensure_topics = t->o->ensure_topic;
    d.group = t->o->group;
    d.query = t->o->filter;
    t->sub = ensign_subscription_open(t->s.c, &d);
    if (t->sub.id != 0) return true;
    session_error(&t->s, NULL, ensign_error(t->s.c));
    return false;
}

int run_subscribe(const options_t *o)
{
    static subscribe_t t;
    int status = event_check(o);

    if (status != EXIT_DONE) return status;
    t.o = o;
    if (open_subscription(&t)) {
        t.start_ms = t.last_ms = ensign_now_ms();
        loop(&t);
        leave(&t);
        summary(&t);
        if (t.late && o->count > 0) session_fail(&t.s, EXIT_LATE);
    }
    return session_end(&t.s);
}
