/* nats_consumer.c - see nats_consumer.h */
#include "nats_consumer.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAKE_MS 5000                    /* right behind a change of leader it can take long */
#define AGAIN_MS 250
#define LIVE_COUNT 1024                 /* messages of one pull */
#define PULL_BYTES 8388608              /* of one pull; more than the largest message has */
#define EXPIRES_MS 30000                /* of a live pull */
#define HEARTBEAT_MS 2000
#define SILENCE_MS 5000                 /* a pull without a message or a heartbeat for so long is lost */
#define WAIT_MS 1000
#define INACTIVE_MS 60000               /* then the server forgets the consumer */
#define NAME_BYTES 64
#define TEXT_BYTES 256

struct consumer_t {
    consumers_t     *all;
    consumer_rules_t rules;
    char            *stream, *filters;
    size_t           index;             /* in all->at */
    uint32_t         serial;            /* of the server's consumer; it is in its name */
    consumer_state_t state;
    char             fault[TEXT_BYTES];
    int64_t          again;             /* monotonic ms: then a live one that is BROKEN begins anew */
    uint64_t         making, pull;      /* requests; 0: none */
    size_t           left;              /* of the pull */
    uint64_t         number, position, pending;
    delivered_t     *queue;             /* [start, end) */
    size_t           start, end, cap;
};

/* ---- all of them */

void consumers_open(consumers_t *all, nats_link_t *link)
{
    memset(all, 0, sizeof *all);
    all->link = link;
}

static void name_of(const consumer_t *c, char name[NAME_BYTES])
{
    snprintf(name, NAME_BYTES, "ensignd-%s-%zx-%" PRIx32, nats_link_nonce(c->all->link), c->index, c->serial);
}

/* NULL: it is none of these, or not any more. */
static consumer_t *find(const consumers_t *all, ensign_slice_t name)
{
    char wanted[NAME_BYTES], text[NAME_BYTES];
    const char *index;
    size_t i;

    if (name.len >= sizeof text) return NULL;
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    index = strchr(text, '-');
    index = index ? strchr(index + 1, '-') : NULL;
    if (!index) return NULL;
    i = strtoul(index + 1, NULL, 16);
    if (i >= all->count || !all->at[i]) return NULL;
    name_of(all->at[i], wanted);
    return strcmp(wanted, text) == 0 ? all->at[i] : NULL;
}

/* ---- making */

static bool on_deleted(void *user, uint64_t number, nats_message_t *m)
{
    (void)user;
    (void)number;
    (void)m;
    return false;
}

static uint64_t ask(consumer_t *c, const char *what, ensign_slice_t body, int64_t limit,
                    nats_reply_fn_t *done)
{
    char name[NAME_BYTES], subject[TEXT_BYTES];
    nats_out_t out = { subject, body, NULL, 0 };

    name_of(c, name);
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.%s.%s.%s", what, c->stream, name);
    return nats_ask(c->all->link, &out, limit, done, c, 0);
}

/* Frees the server's consumer; where that is not heard, it goes by itself later. */
static void forget(consumer_t *c)
{
    nats_forget(c->all->link, c->making);
    nats_forget(c->all->link, c->pull);
    if (c->state != CONSUMER_BROKEN || c->pull) ask(c, "DELETE", slice_of(NULL, 0), MAKE_MS, on_deleted);
    c->making = c->pull = 0;
    c->left = 0;
}

static void give_up(consumer_t *c, const char *fault)
{
    if (c->state == CONSUMER_BROKEN) return;
    log_line("NATS: a reader of stream %s begins anew: %s", c->stream, fault);
    forget(c);
    snprintf(c->fault, sizeof c->fault, "%s", fault);
    c->state = CONSUMER_BROKEN;
    c->again = now_ms() + AGAIN_MS;
}

static void pull(consumer_t *c, size_t count, const char *rest, int64_t limit);

static void pull_live(consumer_t *c)
{
    char rest[TEXT_BYTES];

    snprintf(rest, sizeof rest, "\"expires\":%d000000,\"idle_heartbeat\":%d000000", EXPIRES_MS, HEARTBEAT_MS);
    pull(c, LIVE_COUNT, rest, SILENCE_MS);
}

static bool on_made(void *user, uint64_t number, nats_message_t *m)
{
    consumer_t *c = user;
    nats_answer_t a;

    (void)number;
    c->making = 0;
    nats_answer_read(m, &a);
    if (a.code) {
        give_up(c, a.text);
    } else {
        c->state = CONSUMER_OPEN;
        c->number = 0;
        c->pending = a.pending;
        if (c->rules.live) pull_live(c);
    }
    c->rules.changed(c->rules.user);
    return false;
}

static void begin_text(const consumer_t *c, char text[TEXT_BYTES])
{
    char utc[UTC_TEXT];

    if (c->position || c->rules.begin == BEGIN_BEHIND) {
        snprintf(text, TEXT_BYTES, "\"deliver_policy\":\"by_start_sequence\",\"opt_start_seq\":%" PRIu64,
                 c->position + 1);
    } else if (c->rules.begin == BEGIN_AT_TIME &&
               utc_text(c->rules.ms / 1000, (int32_t)(c->rules.ms % 1000) * 1000000, utc)) {
        snprintf(text, TEXT_BYTES, "\"deliver_policy\":\"by_start_time\",\"opt_start_time\":\"%s\"", utc);
    } else {
        snprintf(text, TEXT_BYTES, "\"deliver_policy\":\"%s\"",
                 c->rules.begin == BEGIN_WITH_LAST ? "last_per_subject" : "all");
    }
}

static void make(consumer_t *c)
{
    char name[NAME_BYTES], begin[TEXT_BYTES];
    buf_t body = { NULL, 0, 0, 0 };
    size_t cap = 4 * TEXT_BYTES + (c->filters ? strlen(c->filters) : 0);

    c->state = CONSUMER_MAKING;
    c->serial = ++c->all->serial;
    name_of(c, name);
    begin_text(c, begin);
    body.end = (size_t)snprintf((char *)buf_room(&body, cap), cap,
                                "{\"stream_name\":\"%s\",\"action\":\"create\","
                                "\"config\":{\"name\":\"%s\",%s,\"ack_policy\":\"none\",\"replay_policy\":\"instant\",\"num_replicas\":1,"
                                "\"mem_storage\":true,\"inactive_threshold\":%d000000%s%s%s}}",
                                c->stream, name, begin, INACTIVE_MS,
                                c->filters ? ",\"filter_subjects\":[" : "", c->filters ? c->filters : "",
                                c->filters ? "]" : "");
    c->making = ask(c, "CREATE", buf_bytes(&body), MAKE_MS, on_made);
    buf_free(&body);
    if (!c->making) give_up(c, "NATS cannot be reached");
}

/* ---- pulling */

/* The next message would not fit into this pull. */
static bool is_full(const nats_message_t *m)
{
    const char *words = m->status == 409 ? nats_message_header(m, "Description") : NULL;
    return words && strstr(words, "MaxBytes");
}

/* There are no messages, or none came in time. */
static bool is_empty(const nats_message_t *m)
{
    return m->status == 404 || m->status == 408;
}

static bool on_status(void *user, uint64_t number, nats_message_t *m)
{
    consumer_t *c = user;

    (void)number;
    if (m && m->status == 100) return true;
    c->pull = 0;
    c->left = 0;
    if (m && is_empty(m)) c->pending = 0;
    if (!m) give_up(c, "NATS sent nothing in time");
    else if (!is_empty(m) && !is_full(m)) give_up(c, "its consumer is gone");
    else if (c->rules.live) pull_live(c);
    c->rules.changed(c->rules.user);
    return false;
}

static void pull(consumer_t *c, size_t count, const char *rest, int64_t limit)
{
    char body[2 * TEXT_BYTES];

    snprintf(body, sizeof body, "{\"batch\":%zu,\"max_bytes\":%d,%s}", count, PULL_BYTES, rest);
    c->left = count;
    c->pull = ask(c, "MSG.NEXT", slice_text(body), limit, on_status);
    if (!c->pull) give_up(c, "NATS cannot be reached");
}

void consumer_pull(consumer_t *c, size_t count, bool wait)
{
    char rest[TEXT_BYTES];

    if (wait) snprintf(rest, sizeof rest, "\"expires\":%d000000", WAIT_MS);
    else snprintf(rest, sizeof rest, "\"no_wait\":true");
    pull(c, count, rest, SILENCE_MS);
}

static void queue_put(consumer_t *c, nats_message_t *m, const nats_delivery_t *d)
{
    delivered_t *x;

    if (c->start == c->end) c->start = c->end = 0;
    if (c->end == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 64;
        c->queue = x_realloc(c->queue, c->cap * sizeof *c->queue);
    }
    x = &c->queue[c->end++];
    x->message = nats_message_take(m);
    x->sequence = d->sequence;
    x->when = d->when;
}

void consumers_give(consumers_t *all, nats_message_t *m)
{
    nats_delivery_t d;
    consumer_t *c = nats_delivery_read(m->reply, &d) ? find(all, d.consumer) : NULL;

    if (!c || c->state != CONSUMER_OPEN || !c->pull) return;
    if (d.number != c->number + 1 || d.sequence <= c->position) {
        give_up(c, "a message is missing");
    } else {
        c->number = d.number;
        c->position = d.sequence;
        c->pending = d.pending;
        queue_put(c, m, &d);
        nats_still_waits(all->link, c->pull);
        if (--c->left == 0) {
            nats_forget(all->link, c->pull);
            c->pull = 0;
            if (c->rules.live) pull_live(c);
        }
    }
    c->rules.changed(c->rules.user);
}

/* ---- one */

static size_t free_index(consumers_t *all)
{
    for (size_t i = 0; i < all->count; i++)
        if (!all->at[i]) return i;
    all->at = x_realloc(all->at, (all->count + 1) * sizeof(consumer_t *));
    return all->count++;
}

consumer_t *consumer_open(consumers_t *all, const consumer_rules_t *rules)
{
    consumer_t *c = x_alloc(sizeof *c);

    c->all = all;
    c->rules = *rules;
    c->stream = x_strdup(rules->stream);
    c->filters = rules->filters ? x_strdup(rules->filters) : NULL;
    c->position = rules->begin == BEGIN_BEHIND ? rules->behind : 0;
    c->index = free_index(all);
    all->at[c->index] = c;
    make(c);
    return c;
}

static void consumer_free(consumer_t *c)
{
    while (consumer_first(c)) consumer_drop_first(c);
    c->all->at[c->index] = NULL;
    free(c->queue);
    free(c->stream);
    free(c->filters);
    free(c);
}

void consumer_close(consumer_t *c)
{
    if (!c) return;
    forget(c);
    consumer_free(c);
}

void consumers_close(consumers_t *all)
{
    for (size_t i = 0; i < all->count; i++)
        if (all->at[i]) consumer_free(all->at[i]);
    free(all->at);
}

void consumers_run(consumers_t *all)
{
    int64_t now = now_ms();

    if (!nats_link_up(all->link)) return;
    for (size_t i = 0; i < all->count; i++) {
        consumer_t *c = all->at[i];
        if (c && c->rules.live && c->state == CONSUMER_BROKEN && now >= c->again) make(c);
    }
}

int64_t consumers_due(const consumers_t *all)
{
    int64_t due = 0;

    if (!nats_link_up(all->link)) return 0;
    for (size_t i = 0; i < all->count; i++) {
        const consumer_t *c = all->at[i];
        if (c && c->rules.live && c->state == CONSUMER_BROKEN && (!due || c->again < due)) due = c->again;
    }
    return due;
}

consumer_state_t consumer_state(const consumer_t *c)
{
    return c->state;
}

const char *consumer_fault(const consumer_t *c)
{
    return c->fault;
}

uint64_t consumer_pending(const consumer_t *c)
{
    return c->pending;
}

bool consumer_waits(const consumer_t *c)
{
    return c->state == CONSUMER_MAKING || c->pull;
}

delivered_t *consumer_first(consumer_t *c)
{
    return c->start < c->end ? &c->queue[c->start] : NULL;
}

void consumer_drop_first(consumer_t *c)
{
    nats_message_free(&c->queue[c->start++].message);
}
