/* subscribe.c - ensign subscribe: prints events as they are published, and acknowledges what was printed */
#include "event.h"
#include "place.h"
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#define UNACKED_MAX 256         /* printed, and not yet written out */
#define LAST_ACKS_MS 1000
#define LAST_TOPICS_MAX 50      /* of --from -N: a stream each, and servers allow a connection about 100 */

typedef struct stream_t {
    ensign_subscription_t sub;
    const char *const *topics;  /* as they were given; none: all of the project */
    size_t      topic_count;
} stream_t;

typedef struct printed_t {      /* an event that the server is not told of yet */
    ensign_subscription_t sub;
    uint64_t token;
    bool     nack;
} printed_t;

typedef struct subscribe_t {
    session_t s;
    const options_t *o;
    place_t  from;
    uint64_t nack_every;        /* 0: none */
    int      nack_code;
    stream_t streams[LAST_TOPICS_MAX];  /* one, but for --from -N */
    size_t   stream_count;
    printed_t printed[UNACKED_MAX];
    size_t   unacked;
    uint64_t received, bytes, gaps;
    uint64_t start_ms, last_ms;
    bool     ended, late;
} subscribe_t;

/* ---- what the options say */

/* "unknown-type" and "UNKNOWN_TYPE" are the same. */
static bool is_code(int code, const char *text)
{
    const char *name = ensign_nack_name(code);

    for (; *name != '\0' && *text != '\0'; name++, text++)
        if (toupper((unsigned char)*text) != *name && !(*text == '-' && *name == '_')) return false;
    return *name == *text;
}

static bool read_code(const char *text, int *code)
{
    for (*code = ENSIGN_NACK_UNPROCESSED; *code <= ENSIGN_NACK_DELIVER_AGAIN_NOT_ME; ++*code)
        if (is_code(*code, text)) return true;
    return false;
}

static int read_nack_every(subscribe_t *t)
{
    const char *text = t->o->nack_every, *colon = text ? strchr(text, ':') : NULL;

    t->nack_code = ENSIGN_NACK_UNPROCESSED;
    if (!text) return EXIT_DONE;
    if (text_to_u64(colon ? x_keep_text(text, (size_t)(colon - text)) : text, &t->nack_every) &&
        t->nack_every > 0 && (!colon || read_code(colon + 1, &t->nack_code)))
        return EXIT_DONE;
    return options_refuse(t->o,
                          "--nack-every %s: give a whole number from 1 on, and behind a colon a code: "
                          "unprocessed, timeout, unhandled-mimetype, unknown-type, deliver-again-any, "
                          "deliver-again-not-me", text);
}

static int check_group(const options_t *o)
{
    if (o->group && o->group[0] == '\0')
        return options_refuse(o, "--group is empty; give the name of the group");
    if (o->ack && o->no_ack)
        return options_refuse(o, "--ack and --no-ack exclude each other; give one of them");
    if (o->nack_every && o->no_ack)
        return options_refuse(o, "--nack-every tells the server of events, and --no-ack tells it nothing; leave "
                                 "out one of them");
    if (o->nack_every && !o->group)
        return options_refuse(o, "--nack-every does something in a group alone; add --group NAME");
    return EXIT_DONE;
}

static int read_options(subscribe_t *t)
{
    const options_t *o = t->o;
    int status = event_check(o);

    if (status == EXIT_DONE) status = read_nack_every(t);
    if (status == EXIT_DONE) status = check_group(o);
    if (status != EXIT_DONE) return status;
    if (!o->from) return EXIT_DONE;
    if (!place_read(o->from, &t->from))
        return options_refuse(o,
                              "--from %s: give beginning, an offset from 1 on, -N for the last N events, or "
                              "a time such as 2026-03-09T10:11:12Z", o->from);
    if (o->args.count == 0 && place_is_found(&t->from))
        return options_refuse(o, "--from %s is looked up in each topic; name the topics", o->from);
    if (t->from.kind == PLACE_LAST && o->args.count > LAST_TOPICS_MAX)
        return options_refuse(o, "--from %s reads each topic by a stream of its own; name %d topics at most",
                              o->from, LAST_TOPICS_MAX);
    return EXIT_DONE;
}

/* ---- events */

/* An event counts as handled once it has left this process. */
static void acknowledge(subscribe_t *t)
{
    out_flush();
    for (size_t i = 0; i < t->unacked && out_failed() == 0; i++) {
        const printed_t *p = &t->printed[i];    /* E_STALE: of an earlier stream, without a group; no harm */
        if (p->nack) ensign_nack(t->s.c, p->sub, p->token, t->nack_code);
        else if (!t->o->no_ack) ensign_ack(t->s.c, p->sub, p->token);
    }
    t->unacked = 0;
}

static void take_event(subscribe_t *t, const stream_t *stream, const ensign_event_t *e)
{
    printed_t *p = &t->printed[t->unacked++];

    event_print(t->o, e, t->o->args.count != 1);
    t->received++;
    t->bytes += e->data.len;
    t->last_ms = ensign_now_ms();
    p->sub = stream->sub;
    p->token = e->token;
    p->nack = t->nack_every > 0 && t->received % t->nack_every == 0;
    if (t->unacked == UNACKED_MAX) acknowledge(t);
}

static void take_gap(subscribe_t *t, const ensign_notice_t *n)
{
    const char *text = n->error ? n->error->text : "no reason was given";
    const ensign_slice_t topic = n->as.gap.topic;
    int shown = t->o->args.count == 1 ? 0 : (int)topic.len;
    char since[TIME_TEXT];

    t->gaps++;
    if (t->o->json) {
        json_object(NULL);
        json_text("kind", "gap");
        if (topic.len > 0) json_slice("topic", topic);
        else json_null("topic");
        json_time("since", n->as.gap.since);
        json_text("error", text);
        json_close();
    } else {
        text_time(n->as.gap.since, since);
        say("%.*s%s%s%s%s%s", shown, shown > 0 ? (const char *)topic.ptr : "", shown > 0 ? ": " : "", text,
            since[0] ? " (since " : "", since, since[0] ? ")" : "");
    }
}

static bool has_all(const subscribe_t *t)
{
    return t->o->count > 0 && t->received >= t->o->count;
}

/* Was this topic asked for, and is not there? */
static bool is_missing(const subscribe_t *t, const stream_t *stream, const char *topic)
{
    ensign_slice_t name;
    ensign_ulid_t id, asked;
    size_t at = 0, len = strlen(topic);
    bool by_id = topic_is_id(topic, &asked);

    while (ensign_open_next(t->s.c, stream->sub.id, ENSIGN_OPEN_MISSING, &at, &name, &id))
        if (by_id ? memcmp(&id, &asked, sizeof id) == 0
                  : name.len == len && memcmp(name.ptr, topic, len) == 0)
            return true;
    return false;
}

/* A name with a typo would bring nothing, in silence. */
static void take_open(const subscribe_t *t, const stream_t *stream, uint32_t times)
{
    const char *first = NULL;
    size_t there = 0;

    for (size_t i = 0; i < stream->topic_count; i++) {
        if (is_missing(t, stream, stream->topics[i])) continue;
        if (there++ == 0) first = stream->topics[i];
    }
    if (times > 1) say("open again");
    else if (stream->topic_count == 0) say("open, all topics");
    else if (there == 1) say("open, %s", first);
    else if (there > 1) say("open, %s and %zu more", first, there - 1);
    for (size_t i = 0; i < stream->topic_count; i++)
        if (is_missing(t, stream, stream->topics[i]))
            say("there is no topic \"%s\"; it brings no events", stream->topics[i]);
}

static void take_notice(subscribe_t *t, const stream_t *stream, const ensign_notice_t *n)
{
    if (n->type == ENSIGN_NOTICE_OPEN) {
        take_open(t, stream, n->as.open.times);
        t->last_ms = ensign_now_ms();
    }
    if (n->type == ENSIGN_NOTICE_EVENT) take_event(t, stream, n->as.event);
    if (n->type == ENSIGN_NOTICE_GAP && t->o->from && n->error && n->error->code == ENSIGN_E_UNIMPLEMENTED) {
        place_without_offsets(&t->s);
        t->ended = true;
    } else if (n->type == ENSIGN_NOTICE_GAP) {
        take_gap(t, n);
    }
    if (n->type != ENSIGN_NOTICE_END) return;
    if (n->error) session_error(&t->s, NULL, n->error);
    t->ended = true;
}

static void take_notices(subscribe_t *t)
{
    const ensign_notice_t *n;

    while (!has_all(t) && !t->ended && (n = session_pull(&t->s)) != NULL)
        for (size_t i = 0; i < t->stream_count; i++)
            if (n->handle == t->streams[i].sub.id) take_notice(t, &t->streams[i], n);
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
            if (!t->s.settled) session_late(&t->s, t->streams[0].sub.id);
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

static bool open_stream(subscribe_t *t, const char *const *topics, size_t count, uint64_t from)
{
    stream_t *stream = &t->streams[t->stream_count++];
    ensign_subscription_desc_t d;

    memset(&d, 0, sizeof d);
    d.topics = stream->topics = topics;
    d.topic_count = stream->topic_count = count;
    d.ensure_topics = t->o->ensure_topic;
    d.group = t->o->group;
    d.query = t->o->filter;
    d.from = from;
    d.resume = t->o->resume || t->o->from != NULL || t->o->group != NULL;   /* a group misses nothing */
    stream->sub = ensign_subscription_open(t->s.c, &d);
    if (stream->sub.id != 0) return true;
    session_error(&t->s, NULL, ensign_error(t->s.c));
    return false;
}

/* The last events of each topic begin at an offset of its own, so each topic has a stream. All places are
 * found before that: a question pulls the notices of streams, too, and drops them. */
static bool open_each(subscribe_t *t, const char *const *names, size_t count)
{
    uint64_t from[LAST_TOPICS_MAX];

    for (size_t i = 0; i < count; i++)
        if (!place_find(&t->s, &t->from, names[i], &from[i])) return false;
    for (size_t i = 0; i < count; i++)
        if (!open_stream(t, &names[i], 1, from[i])) return false;
    return true;
}

/* A project has one sequence of offsets, so from a time on all topics begin at one offset: that of the
 * earliest event that is wanted. */
static bool open_from_time(subscribe_t *t, const char *const *names, size_t count)
{
    uint64_t from, first = ENSIGN_FROM_START;

    for (size_t i = 0; i < count; i++) {
        if (!place_find(&t->s, &t->from, names[i], &from)) return false;
        if (from != ENSIGN_FROM_START && (from < first || first == ENSIGN_FROM_START))
            first = from;       /* a topic without events has no say */
    }
    return open_stream(t, names, count, first);
}

static bool open_subscription(subscribe_t *t)
{
    const char *const *names = (const char *const *)t->o->args.at;
    size_t count = t->o->args.count;
    uint64_t from;

    if (!session_open(&t->s, t->o, true)) return false;
    if (t->from.kind == PLACE_LAST) return open_each(t, names, count);
    if (t->from.kind == PLACE_TIME) return open_from_time(t, names, count);
    return place_find(&t->s, &t->from, NULL, &from) && open_stream(t, names, count, from);
}

int run_subscribe(const options_t *o)
{
    static subscribe_t t;
    int status;

    t.o = o;
    status = read_options(&t);
    if (status != EXIT_DONE) return status;
    if (open_subscription(&t)) {
        t.start_ms = t.last_ms = ensign_now_ms();
        loop(&t);
        leave(&t);
        summary(&t);
        if (t.late && o->count > 0) session_fail(&t.s, EXIT_LATE);
    }
    return session_end(&t.s);
}
