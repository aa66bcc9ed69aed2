/* nats_link.c - see nats_link.h
 *
 * Holds  `lock` guards what the threads share: both queues, `closing`, and the flags of a connection. The
 *        eventfd is written when the first message comes into an empty queue, and read before the queue is
 *        taken: so no message waits without it.
 *        A connection has a generation, counted by the link's thread as it connects and by the loop as it
 *        hears of that. What was sent for another generation is dropped, never published late. Its inbox
 *        carries the number too, so no reply of an older connection comes.
 *        A connection's memory goes when libnats has called both of its last callbacks.
 * Moves  connect -> IN_UP -> messages -> closed -> IN_DOWN -> connect. */
#include "nats_link.h"
#include "ids.h"
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <nats/nats.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_MS 2000                 /* for one server */
#define FIRST_MS 20                     /* from the loss of a connection to the first try of another */
#define AGAIN_MS 250                    /* between two rounds over all servers */
#define PING_MS 2000
#define PINGS_OUT 2                     /* one more without an answer, and the connection is given up */
#define WRITE_MS 5000                   /* a publish that cannot be written for so long ends the connection */
#define BUFFER_BYTES 262144
#define INBOX_BYTES 64
#define NONCE_BYTES 8

typedef enum { IN_MESSAGE, IN_UP, IN_DOWN } in_kind_t;
typedef struct in_t { in_kind_t kind; natsMsg *message; } in_t;
typedef struct out_t { natsMsg *message; uint64_t generation; } out_t;
typedef struct ins_t { in_t *at; size_t count, cap; } ins_t;
typedef struct outs_t { out_t *at; size_t count, cap; } outs_t;

typedef struct connection_t {
    nats_link_t      *link;
    natsConnection   *nc;
    natsSubscription *inbox;
    uint64_t          generation;
    bool              closed, complete; /* libnats has closed it; its last message was given */
} connection_t;

typedef struct request_t {
    nats_reply_fn_t *done;              /* NULL: the slot is free */
    void            *user;
    uint64_t         number;
    int64_t          limit, due;
    uint32_t         serial;            /* of the slot's use */
    size_t           next_free;
} request_t;

struct nats_link_t {
    nats_hooks_t    hooks;
    char            nonce[2 * NONCE_BYTES + 1];
    char           *list;               /* the servers, cut at the commas */
    const char    **servers;
    int             server_count;
    int64_t         max_payload;
    size_t          servers_known;
    int             fd;
    pthread_t       thread;
    bool            threaded;
    pthread_mutex_t lock;
    pthread_cond_t  wake;               /* of the link's thread */
    bool            closing;
    ins_t           ins;
    outs_t          outs;
    connection_t   *first;              /* made by nats_link_open, for the thread */
    uint64_t        made;               /* generations; the link's thread alone */
    uint64_t        generation;         /* the loop's, as all below */
    bool            up;
    ins_t           taken;
    outs_t          sent;               /* and not handed over yet */
    request_t      *requests;
    size_t          request_count, request_cap, free;   /* free: index + 1 of the first free slot; 0: none */
    int64_t         next_due;           /* no request is due before; 0: none waits */
};

/* ---- messages */

nats_message_t nats_message_take(nats_message_t *m)
{
    nats_message_t taken = *m;
    m->own = NULL;
    return taken;
}

void nats_message_free(nats_message_t *m)
{
    natsMsg_Destroy(m->own);
    m->own = NULL;
}

const char *nats_message_header(const nats_message_t *m, const char *name)
{
    const char *value = NULL;
    return natsMsgHeader_Get(m->own, name, &value) == NATS_OK ? value : NULL;
}

static nats_message_t message_of(natsMsg *own)
{
    nats_message_t m;
    const char *text;

    m.own = own;
    m.subject = natsMsg_GetSubject(own);
    m.reply = natsMsg_GetReply(own);
    if (!m.subject) m.subject = "";
    if (!m.reply) m.reply = "";
    m.data = slice_of(natsMsg_GetData(own), (size_t)natsMsg_GetDataLength(own));
    text = m.data.len ? NULL : nats_message_header(&m, "Status");
    m.status = text ? atoi(text) : 0;
    return m;
}

/* ---- the queues */

static void put_in(nats_link_t *l, in_kind_t kind, natsMsg *message)
{
    uint64_t one = 1;
    bool first;

    pthread_mutex_lock(&l->lock);
    first = l->ins.count == 0;
    if (l->ins.count == l->ins.cap) {
        l->ins.cap = l->ins.cap ? 2 * l->ins.cap : 256;
        l->ins.at = x_realloc(l->ins.at, l->ins.cap * sizeof *l->ins.at);
    }
    l->ins.at[l->ins.count].kind = kind;
    l->ins.at[l->ins.count++].message = message;
    pthread_mutex_unlock(&l->lock);
    if (first && write(l->fd, &one, sizeof one) < 0) log_line("NATS: the loop was not woken");
}

static void drop_ins(ins_t *ins)
{
    for (size_t i = 0; i < ins->count; i++) natsMsg_Destroy(ins->at[i].message);
    ins->count = 0;
}

static void drop_outs(outs_t *outs)
{
    for (size_t i = 0; i < outs->count; i++) natsMsg_Destroy(outs->at[i].message);
    outs->count = 0;
}

static void outs_put(outs_t *outs, natsMsg *message, uint64_t generation)
{
    if (outs->count == outs->cap) {
        outs->cap = outs->cap ? 2 * outs->cap : 256;
        outs->at = x_realloc(outs->at, outs->cap * sizeof *outs->at);
    }
    outs->at[outs->count].message = message;
    outs->at[outs->count++].generation = generation;
}

/* What the loop has sent goes to the thread at once: so that wakes once a turn, and not for each message. */
static void hand_over(nats_link_t *l)
{
    outs_t swap;

    if (l->sent.count == 0) return;
    pthread_mutex_lock(&l->lock);
    if (l->outs.count == 0) {
        swap = l->outs;
        l->outs = l->sent;
        l->sent = swap;
        pthread_cond_broadcast(&l->wake);
    }
    for (size_t i = 0; i < l->sent.count; i++)
        outs_put(&l->outs, l->sent.at[i].message, l->sent.at[i].generation);
    pthread_mutex_unlock(&l->lock);
    l->sent.count = 0;
}

/* ---- libnats's callbacks, each in a thread of its own */

static void on_message(natsConnection *nc, natsSubscription *inbox, natsMsg *message, void *link)
{
    (void)nc;
    (void)inbox;
    put_in(link, IN_MESSAGE, message);
}

static void raise_flag(nats_link_t *l, bool *flag)
{
    pthread_mutex_lock(&l->lock);
    *flag = true;
    pthread_cond_broadcast(&l->wake);
    pthread_mutex_unlock(&l->lock);
}

static void on_closed(natsConnection *nc, void *connection)
{
    connection_t *c = connection;
    (void)nc;
    raise_flag(c->link, &c->closed);
}

static void on_complete(void *connection)
{
    connection_t *c = connection;
    raise_flag(c->link, &c->complete);
}

/* Without one, libnats prints them. */
static void on_error(natsConnection *nc, natsSubscription *inbox, natsStatus s, void *link)
{
    (void)nc;
    (void)inbox;
    (void)link;
    log_line("NATS: %s", natsStatus_GetText(s));
}

/* ---- a connection, in the link's thread, or in nats_link_open */

static natsStatus set_options(natsOptions *o, connection_t *c)
{
    nats_link_t *l = c->link;
    natsStatus s = natsOptions_SetServers(o, l->servers, l->server_count);

    if (s == NATS_OK) s = natsOptions_SetName(o, "ensignd");
    if (s == NATS_OK) s = natsOptions_SetAllowReconnect(o, false);
    if (s == NATS_OK) s = natsOptions_SetSendAsap(o, true);
    if (s == NATS_OK) s = natsOptions_SetTimeout(o, CONNECT_MS);
    if (s == NATS_OK) s = natsOptions_SetPingInterval(o, PING_MS);
    if (s == NATS_OK) s = natsOptions_SetMaxPingsOut(o, PINGS_OUT);
    if (s == NATS_OK) s = natsOptions_SetWriteDeadline(o, WRITE_MS);
    if (s == NATS_OK) s = natsOptions_SetIOBufSize(o, BUFFER_BYTES);
    if (s == NATS_OK) s = natsOptions_SetClosedCB(o, on_closed, c);
    if (s == NATS_OK) s = natsOptions_SetErrorHandler(o, on_error, l);
    return s;
}

static natsStatus dial(connection_t *c)
{
    natsOptions *o = NULL;
    natsStatus s = natsOptions_Create(&o);

    if (s == NATS_OK) s = set_options(o, c);
    if (s == NATS_OK) s = natsConnection_Connect(&c->nc, o);
    natsOptions_Destroy(o);
    return s;
}

/* Nobody knows a new inbox before the loop is told of it: no message is missed, and where it is closed
   already, none comes. Messages are bounded by what is asked for, so libnats may keep them all. */
static natsStatus subscribe(connection_t *c)
{
    char subject[INBOX_BYTES];
    natsStatus s;

    snprintf(subject, sizeof subject, "_INBOX.%s.%" PRIu64 ".*", c->link->nonce, c->generation);
    s = natsConnection_Subscribe(&c->inbox, c->nc, subject, on_message, c->link);
    if (s != NATS_OK) {
        c->complete = true;
        return s;
    }
    s = natsSubscription_SetOnCompleteCB(c->inbox, on_complete, c);
    if (s != NATS_OK) raise_flag(c->link, &c->complete);
    return natsSubscription_SetPendingLimits(c->inbox, -1, -1);
}

static void connection_free(connection_t *c)
{
    nats_link_t *l = c->link;

    if (c->nc) {
        natsConnection_Destroy(c->nc);
        pthread_mutex_lock(&l->lock);
        while (!c->closed || !c->complete) pthread_cond_wait(&l->wake, &l->lock);
        pthread_mutex_unlock(&l->lock);
        natsSubscription_Destroy(c->inbox);
    }
    free(c);
}

static void note_facts(nats_link_t *l, natsConnection *nc)
{
    char **servers = NULL;
    int count = 0;

    l->max_payload = natsConnection_GetMaxPayload(nc);
    if (natsConnection_GetServers(nc, &servers, &count) != NATS_OK) return;
    l->servers_known = (size_t)count;
    for (int i = 0; i < count; i++) free(servers[i]);
    free(servers);
}

/* NULL: no server has answered, and *s says why. */
static connection_t *connect_once(nats_link_t *l, natsStatus *s)
{
    connection_t *c = x_alloc(sizeof *c);

    c->link = l;
    *s = dial(c);
    if (*s == NATS_OK) {
        c->generation = l->made + 1;
        *s = subscribe(c);
    }
    if (*s == NATS_OK) {
        l->made++;
        return c;
    }
    connection_free(c);
    return NULL;
}

static void send_all(connection_t *c, outs_t *outs)
{
    for (size_t i = 0; i < outs->count; i++) {
        natsMsg *m = outs->at[i].message;
        natsStatus s = NATS_OK;
        if (outs->at[i].generation == c->generation) s = natsConnection_PublishMsg(c->nc, m);
        if (s != NATS_OK) log_line("NATS: a message was not sent: %s", natsStatus_GetText(s));
        natsMsg_Destroy(m);
    }
    outs->count = 0;
}

/* Until it is closed. What is left then goes with it. */
static void serve(nats_link_t *l, connection_t *c)
{
    outs_t mine = { NULL, 0, 0 }, swap;

    pthread_mutex_lock(&l->lock);
    while (!l->closing && !c->closed) {
        if (l->outs.count == 0) {
            pthread_cond_wait(&l->wake, &l->lock);
            continue;
        }
        swap = l->outs;
        l->outs = mine;
        mine = swap;
        pthread_mutex_unlock(&l->lock);
        send_all(c, &mine);
        pthread_mutex_lock(&l->lock);
    }
    drop_outs(&l->outs);
    pthread_mutex_unlock(&l->lock);
    free(mine.at);
}

/* Sleeps, but not when the link is closed. False: it is. */
static bool pause_for(nats_link_t *l, int64_t ms)
{
    struct timespec until;
    bool goes_on;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&l->lock);
    while (!l->closing && pthread_cond_timedwait(&l->wake, &l->lock, &until) == 0) {}
    goes_on = !l->closing;
    pthread_mutex_unlock(&l->lock);
    return goes_on;
}

static void *work(void *link)
{
    nats_link_t *l = link;
    connection_t *c = l->first;
    natsStatus s;

    for (;;) {
        if (c) {
            put_in(l, IN_UP, NULL);
            serve(l, c);
            put_in(l, IN_DOWN, NULL);
            connection_free(c);
        } else {
            log_line("NATS: %s", natsStatus_GetText(s));
        }
        if (!pause_for(l, c ? FIRST_MS : AGAIN_MS)) break;
        c = connect_once(l, &s);
    }
    nats_ReleaseThreadMemory();
    return NULL;
}

/* ---- requests */

static natsMsg *make_message(const nats_out_t *out, const char *reply)
{
    natsMsg *m = NULL;
    natsStatus s = NATS_INVALID_ARG;

    if (out->data.len <= INT_MAX)
        s = natsMsg_Create(&m, out->subject, reply, (const char *)out->data.ptr, (int)out->data.len);
    for (size_t i = 0; s == NATS_OK && i < out->header_count; i++)
        s = natsMsgHeader_Set(m, out->headers[i].name, out->headers[i].value);
    if (s == NATS_OK) return m;
    log_line("NATS: a message was not made: %s", natsStatus_GetText(s));
    natsMsg_Destroy(m);
    return NULL;
}

static uint64_t number_of(const nats_link_t *l, size_t index)
{
    return (uint64_t)l->requests[index].serial << 32 | (uint64_t)(index + 1);
}

/* NULL: it has ended. */
static request_t *request_of(const nats_link_t *l, uint64_t number)
{
    size_t index = (size_t)(number & UINT32_MAX);
    request_t *q = index && index <= l->request_count ? &l->requests[index - 1] : NULL;
    return q && q->done && q->serial == (uint32_t)(number >> 32) ? q : NULL;
}

static void set_due(nats_link_t *l, request_t *q, int64_t now)
{
    q->due = now + q->limit;
    if (!l->next_due || q->due < l->next_due) l->next_due = q->due;
}

static size_t take_slot(nats_link_t *l)
{
    size_t index = l->free - 1;

    if (l->free) {
        l->free = l->requests[index].next_free;
        return index;
    }
    if (l->request_count == l->request_cap) {
        l->request_cap = l->request_cap ? 2 * l->request_cap : 64;
        l->requests = x_realloc(l->requests, l->request_cap * sizeof *l->requests);
    }
    memset(&l->requests[l->request_count], 0, sizeof *l->requests);
    return l->request_count++;
}

static void end_request(nats_link_t *l, request_t *q)
{
    q->done = NULL;
    q->next_free = l->free;
    l->free = (size_t)(q - l->requests) + 1;
}

uint64_t nats_ask(nats_link_t *l, const nats_out_t *out, int64_t limit_ms, nats_reply_fn_t *done, void *user,
                  uint64_t number)
{
    char reply[INBOX_BYTES];
    natsMsg *message;
    request_t *q;
    size_t index;

    if (!l->up) return 0;
    index = take_slot(l);
    q = &l->requests[index];
    q->serial++;
    q->user = user;
    q->number = number;
    q->limit = limit_ms;
    q->done = done;
    snprintf(reply, sizeof reply, "_INBOX.%s.%" PRIu64 ".%" PRIx64, l->nonce, l->generation,
             number_of(l, index));
    message = make_message(out, reply);
    if (!message) {
        end_request(l, q);
        return 0;
    }
    set_due(l, q, now_ms());
    outs_put(&l->sent, message, l->generation);
    return number_of(l, index);
}

void nats_forget(nats_link_t *l, uint64_t request)
{
    request_t *q = request_of(l, request);
    if (q) end_request(l, q);
}

void nats_still_waits(nats_link_t *l, uint64_t request)
{
    request_t *q = request_of(l, request);
    if (q) set_due(l, q, now_ms());
}

void nats_tell(nats_link_t *l, const nats_out_t *out)
{
    natsMsg *message = l->up ? make_message(out, NULL) : NULL;
    if (message) outs_put(&l->sent, message, l->generation);
}

static void fail_request(nats_link_t *l, size_t index)
{
    request_t q = l->requests[index];

    end_request(l, &l->requests[index]);
    q.done(q.user, q.number, NULL);
}

static void fail_all(nats_link_t *l)
{
    for (size_t i = 0; i < l->request_count; i++)
        if (l->requests[i].done) fail_request(l, i);
    l->next_due = 0;
}

static void fail_late(nats_link_t *l)
{
    int64_t now;

    if (!l->next_due || (now = now_ms()) < l->next_due) return;
    l->next_due = 0;
    for (size_t i = 0; i < l->request_count; i++) {
        request_t *q = &l->requests[i];
        if (!q->done) continue;
        if (q->due <= now) fail_request(l, i);
        else if (!l->next_due || q->due < l->next_due) l->next_due = q->due;
    }
}

/* The request may end, and the table may move, while its function asks for more. */
static void give_reply(nats_link_t *l, uint64_t number, nats_message_t *m)
{
    request_t *q = request_of(l, number);
    bool more;

    if (!q) return;
    more = q->done(q->user, q->number, m);
    if (more) nats_still_waits(l, number);
    else nats_forget(l, number);
}

static void give(nats_link_t *l, natsMsg *own)
{
    static const char inbox[] = "_INBOX.";
    nats_message_t m = message_of(own);
    const char *token = strrchr(m.subject, '.');

    if (strncmp(m.subject, inbox, sizeof inbox - 1) == 0 && token)
        give_reply(l, strtoull(token + 1, NULL, 16), &m);
    else
        l->hooks.message(l->hooks.user, &m);
    nats_message_free(&m);
}

static void set_up(nats_link_t *l, bool up)
{
    l->up = up;
    if (up) l->generation++;
    else fail_all(l);
    log_line("NATS: %s", up ? "connected" : "the connection is lost");
    l->hooks.changed(l->hooks.user);
}

static void take_ins(nats_link_t *l)
{
    ins_t swap = l->taken;
    uint64_t count;

    if (read(l->fd, &count, sizeof count) < 0 && errno == EAGAIN) return;
    pthread_mutex_lock(&l->lock);
    l->taken = l->ins;
    l->ins = swap;
    pthread_mutex_unlock(&l->lock);
}

void nats_link_run(nats_link_t *l)
{
    hand_over(l);
    take_ins(l);
    for (size_t i = 0; i < l->taken.count; i++) {
        in_t in = l->taken.at[i];
        l->taken.at[i].message = NULL;
        if (in.kind == IN_MESSAGE) give(l, in.message);
        else set_up(l, in.kind == IN_UP);
    }
    l->taken.count = 0;
    fail_late(l);
    hand_over(l);
}

/* ---- life */

static void split_servers(nats_link_t *l, const char *servers)
{
    char *rest = NULL;

    l->list = x_strdup(servers);
    for (char *at = strtok_r(l->list, ",", &rest); at; at = strtok_r(NULL, ",", &rest)) {
        l->servers = x_realloc(l->servers, (size_t)(l->server_count + 1) * sizeof *l->servers);
        l->servers[l->server_count++] = at;
    }
}

static bool make_nonce(nats_link_t *l, why_t *why)
{
    uint8_t bytes[NONCE_BYTES];

    if (!random_bytes(bytes, sizeof bytes))
        return fail(why, "--store: no random bytes: %s; see to the system's /dev/urandom", strerror(errno));
    for (size_t i = 0; i < sizeof bytes; i++) snprintf(l->nonce + 2 * i, 3, "%02x", bytes[i]);
    return true;
}

static bool make_locks(nats_link_t *l, why_t *why)
{
    pthread_condattr_t monotonic;

    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&l->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    l->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return l->fd >= 0 ||
           fail(why, "--store: no eventfd: %s; allow the process more open files", strerror(errno));
}

/* `shown`: the servers, for texts. */
static bool connect_first(nats_link_t *l, const char *shown, int64_t limit_ms, why_t *why)
{
    int64_t end = now_ms() + limit_ms;
    natsStatus s;

    do {
        l->first = connect_once(l, &s);
        if (l->first) {
            note_facts(l, l->first->nc);
            return true;
        }
        if (s == NATS_CONNECTION_AUTH_FAILED)
            return fail(why, "--store %s: NATS refuses the login; put user and password into the address, as "
                             "in nats://user:password@host:4222", shown);
    } while (now_ms() < end && pause_for(l, AGAIN_MS));
    return fail(why, "--store %s: no server of NATS answers: %s; start nats-server, or name the addresses "
                     "where it runs", shown, natsStatus_GetText(s));
}

nats_link_t *nats_link_open(const char *servers, const char *shown, const nats_hooks_t *hooks,
                            int64_t limit_ms, why_t *why)
{
    nats_link_t *l = x_alloc(sizeof *l);

    l->hooks = *hooks;
    split_servers(l, servers);
    if (make_locks(l, why) && make_nonce(l, why) && connect_first(l, shown, limit_ms, why)) {
        l->threaded = pthread_create(&l->thread, NULL, work, l) == 0;
        if (l->threaded) return l;
        fail(why, "--store: no thread can be started; allow the process more of them");
    }
    nats_link_close(l);
    return NULL;
}

void nats_link_close(nats_link_t *l)
{
    if (!l) return;
    raise_flag(l, &l->closing);
    if (l->threaded) pthread_join(l->thread, NULL);
    else if (l->first) connection_free(l->first);
    if (l->fd >= 0) close(l->fd);
    drop_ins(&l->ins);
    drop_ins(&l->taken);
    drop_outs(&l->outs);
    drop_outs(&l->sent);
    free(l->sent.at);
    free(l->ins.at);
    free(l->taken.at);
    free(l->outs.at);
    free(l->requests);
    free(l->servers);
    free(l->list);
    pthread_cond_destroy(&l->wake);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

int nats_link_fd(const nats_link_t *l)
{
    return l->fd;
}

int64_t nats_link_due(const nats_link_t *l)
{
    return l->sent.count ? 1 : l->next_due;
}

bool nats_link_up(const nats_link_t *l)
{
    return l->up;
}

int64_t nats_link_max_payload(const nats_link_t *l)
{
    return l->max_payload;
}

size_t nats_link_servers(const nats_link_t *l)
{
    return l->servers_known;
}

const char *nats_link_nonce(const nats_link_t *l)
{
    return l->nonce;
}
