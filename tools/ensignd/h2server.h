/* h2server.h - HTTP/2 connections, and on them gRPC calls: whole messages in, whole messages out, a status
 *
 * Owns   connections and calls. A call that has ended stays readable until h2_reap.
 * Moves  bytes come in -> nghttp2 -> its callbacks only note facts and mark the call as touched -> the
 *        pump, once nghttp2 has returned, tells the handler: open, message..., half_close, and at the very
 *        end closed. What the handler sends waits in the call's queue; h2_flush lets nghttp2 pull it into
 *        16 KB frames. One that has more to send than a queue should hold gives refill, which is called
 *        again and again as the client takes what was queued.
 * Fails  a peer that breaks HTTP/2 loses its connection, one that breaks gRPC its call. */
#ifndef ENSIGND_H2SERVER_H
#define ENSIGND_H2SERVER_H
#include "auth.h"
#include "link.h"
#include "loop.h"
#include <nghttp2/nghttp2.h>

#define MESSAGE_MAX 4194304u            /* bytes of one received message, as grpc-go has it */
#define QUEUE_MESSAGES 16384u           /* of one call, waiting to be sent */
#define QUEUE_BYTES_EACH 4096u /* on average: the queue is bounded by this many bytes for each message too */

enum {
    GRPC_OK = 0, GRPC_CANCELLED = 1, GRPC_UNKNOWN = 2, GRPC_INVALID_ARGUMENT = 3, GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5, GRPC_ALREADY_EXISTS = 6, GRPC_PERMISSION_DENIED = 7, GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_FAILED_PRECONDITION = 9, GRPC_ABORTED = 10, GRPC_OUT_OF_RANGE = 11, GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13, GRPC_UNAVAILABLE = 14, GRPC_DATA_LOSS = 15, GRPC_UNAUTHENTICATED = 16
};

typedef struct h2_server_t h2_server_t;
typedef struct h2_conn_t h2_conn_t;
typedef struct call_t call_t;

struct call_t {
    h2_conn_t *conn;                    /* NULL once the connection is gone */
    int32_t    id;
    /* request head */
    char      *method, *path, *content_type, *encoding, *timeout, *user_agent;
    char      *authorization[8];
    size_t     authorization_count;
    int64_t    deadline;                /* monotonic ms; 0: none */
    char       peer[64];
    /* request body */
    buf_t      in;
    size_t     owed;                    /* bytes of the stream's window that are not given back yet */
    size_t     in_max;                  /* bytes of one message; [MESSAGE_MAX] */
    bool       head_done, opened, in_ended, half_closed;
    bool       paused;                  /* its own answers are not read: take no more from it */
    bool       held;                    /* the same, as long as the handler wants it */
    int        refused;                 /* HTTP status of what is no gRPC, told once it is whole; 0: it is */
    /* reply */
    buf_t      out;
    size_t     out_messages, out_left;  /* whole or begun messages in `out`; what is left of the begun one */
    size_t     out_max;                 /* messages; [QUEUE_MESSAGES] */
    size_t     refill_below;            /* bytes: with fewer in the queue, refill is called; 0: never */
    void     (*refill)(void *user, call_t *c);                  /* queues more, or ends the call */
    size_t     out_held;                /* messages that the handler holds back: they count as queued */
    char      *header_name, *header_value;      /* of the response, beside those of gRPC; NULL: none */
    bool       responded, deferred, ended, reset_due;
    int        status;
    char      *status_text;
    /* life */
    bool       touched, closed, told;
    call_t    *next, **back;            /* of the connection, then of the graveyard */
    call_t    *next_touched;
    /* the handler's */
    claims_t   claims;
    const void *rpc;
    void      *state;
};

typedef struct call_handler_t {
    void (*open)(void *user, call_t *c);                        /* the head is there */
    void (*message)(void *user, call_t *c, ensign_slice_t message);
    void (*half_close)(void *user, call_t *c);                  /* behind the last message */
    void (*deadline)(void *user, call_t *c);
    void (*closed)(void *user, call_t *c);                      /* always, and last */
} call_handler_t;

struct h2_server_t {
    loop_t      *loop;
    watch_t      listener;
    tls_server_t *tls;                  /* NULL: plaintext */
    const call_handler_t *handler;
    void        *user;
    h2_conn_t   *conns;
    call_t      *graveyard;
    h2_conn_t   *old_conns;
    int64_t      next_deadline;         /* 0: none */
    size_t       calls;                 /* open ones */
    bool         stopping;
    bool         strict;                /* clients that ping too often are sent away, as grpc-go does it */
    uint64_t     cut_bytes, cut_events; /* a connection is cut behind so many; 0: none is */
    uint64_t     cut_first;             /* only so many, the first ones; 0: all */
    uint64_t     accepted;              /* connections so far */
    bool         more;                  /* something can go on without waiting for the network */
    uint8_t     *scratch;
};

void h2_open(h2_server_t *s, loop_t *l, int listen_fd, tls_server_t *tls, const call_handler_t *h,
             void *user);
void h2_tick(h2_server_t *s, int64_t now);      /* deadlines, and what was left unread */
void h2_flush(h2_server_t *s);          /* sends what there is, on all connections */
void h2_reap(h2_server_t *s);           /* frees what has ended; only when no one points at it any more */
void h2_stop(h2_server_t *s);           /* no new connections; GOAWAY on the old ones */
void h2_each_call(h2_server_t *s, void (*each)(void *user, call_t *c), void *user);
bool h2_sent_all(const h2_server_t *s); /* no connection has anything left to send */
void h2_close(h2_server_t *s);

/* For the handler; all do nothing on a call that has ended. */
void     call_send(call_t *c, ensign_slice_t message);          /* adds the prefix */
void     call_send_framed(call_t *c, ensign_slice_t frame);     /* has it already */
uint8_t *call_room(call_t *c, size_t frame_len);                /* writes a frame in place; NULL: ended */
void     call_sent(call_t *c, size_t frame_len);
void     call_set_header(call_t *c, const char *name, const char *value);       /* before the first message */
void     call_hold(call_t *c);          /* takes no more messages from it: they wait under flow control */
void     call_resume(call_t *c);
uint8_t *call_message_room(call_t *c, size_t message_len);     /* the same, behind the prefix */
void     call_message_sent(call_t *c, size_t message_len);
bool     call_is_full(const call_t *c);                         /* the queue is at its bound */
bool     call_counts(call_t *c);    /* an event is about to be queued; false: its connection is cut before */
void     call_end(call_t *c, int status, const char *text);     /* behind what is queued */
#endif
