/* nats_link.h - a connection to the servers of NATS: requests with a limit of time, and messages that come
 *
 * nats_link.c alone knows libnats. All calls are for the loop's thread.
 *
 * Threads   libnats calls back in threads of its own. What it brings goes into a queue, and an eventfd wakes
 *           the loop, which takes it in nats_link_run. What the loop sends goes into another queue, and a
 *           thread of the link publishes it: a publish may wait for the socket, and for libnats's lock.
 * Requests  Each has a reply subject of its own. Its function is called in nats_link_run: with each reply,
 *           and with NULL once where no reply came within the limit or the connection was lost.
 * Losses    libnats does not reconnect here. It would do so between two publishes, without a sign, and what
 *           was published behind a lost event would be stored in front of it. So a lost connection is
 *           closed: what waits to be sent is dropped, each request ends with NULL, and `changed` is called.
 *           Then the link's thread connects anew, for ever, and `changed` is called again.
 * Order     What is sent over one connection leaves in the order of the calls; what comes is given in the
 *           order in which it came. */
#ifndef ENSIGND_NATS_LINK_H
#define ENSIGND_NATS_LINK_H
#include "util.h"

typedef struct nats_link_t nats_link_t;

/* It lives until the function that gets it returns, or until nats_message_free where that has taken it. */
typedef struct nats_message_t {
    const char    *subject, *reply;     /* "": none */
    ensign_slice_t data;
    int            status;              /* of a message that has no data and a status, such as 404; else 0 */
    void          *own;                 /* libnats's message; NULL: somebody has taken it */
} nats_message_t;

nats_message_t nats_message_take(nats_message_t *m);
void           nats_message_free(nats_message_t *m);
const char    *nats_message_header(const nats_message_t *m, const char *name);  /* NULL: it has none */

typedef struct nats_header_t { const char *name, *value; } nats_header_t;
typedef struct nats_out_t {
    const char          *subject;
    ensign_slice_t       data;
    const nats_header_t *headers;
    size_t               header_count;
} nats_out_t;

typedef struct nats_hooks_t {
    void (*message)(void *user, nats_message_t *m);     /* one that is no reply */
    void (*changed)(void *user);                        /* see nats_link_up; behind the requests that ended */
    void  *user;
} nats_hooks_t;

/* `servers`: nats://host[:port], more of them behind commas. Connects, and tries again for limit_ms. */
/* `shown`: the servers as errors name them. */
nats_link_t *nats_link_open(const char *servers, const char *shown, const nats_hooks_t *hooks,
                            int64_t limit_ms, why_t *why);
void    nats_link_close(nats_link_t *l);        /* calls no functions; it may take some seconds */
int     nats_link_fd(const nats_link_t *l);
int64_t nats_link_due(const nats_link_t *l);    /* when nats_link_run has to be called; 0: it need not */
void    nats_link_run(nats_link_t *l);
bool    nats_link_up(const nats_link_t *l);
int64_t nats_link_max_payload(const nats_link_t *l);    /* bytes, of the server that it was opened with */
size_t  nats_link_servers(const nats_link_t *l);        /* that are known: named, or told by the first one */
const char *nats_link_nonce(const nats_link_t *l);      /* 16 hexadecimal digits, new for each link */

/* True: more replies may come, and the limit begins anew. Behind NULL it has no meaning. */
typedef bool nats_reply_fn_t(void *user, uint64_t number, nats_message_t *m);
/* The request's number, from 1; 0: nothing was sent, for the link is down. */
uint64_t nats_ask(nats_link_t *l, const nats_out_t *out, int64_t limit_ms, nats_reply_fn_t *done, void *user,
                  uint64_t number);
void     nats_forget(nats_link_t *l, uint64_t request);         /* its function is not called any more */
void     nats_still_waits(nats_link_t *l, uint64_t request);    /* its limit begins anew */
void     nats_tell(nats_link_t *l, const nats_out_t *out);      /* no reply is wanted */
#endif
