/* h2conn.h - what h2server.c and call.c share; nobody else includes it */
#ifndef ENSIGND_H2CONN_H
#define ENSIGND_H2CONN_H
#include "h2server.h"

struct h2_conn_t {
    h2_server_t     *server;
    watch_t          watch;
    link_t           link;
    nghttp2_session *session;
    call_t          *calls;             /* in the order of their ids, newest first */
    call_t          *touched, **touched_end;    /* oldest first */
    bool             resets_due, broken, dropped, pinged, unread;
    int64_t          goaway_due;        /* when the second GOAWAY leaves at the latest; 0: not asked for */
    int64_t          last_ping;         /* of the client's; 0: none yet */
    unsigned         ping_strikes;
    bool             sent_since_ping;
    uint64_t         events;            /* queued on it, for --cut-after-events */
    bool             doomed;            /* it will be cut */
    bool             cut_due;           /* now, once what is queued has left */
    h2_conn_t       *next, **back;
};

void    conn_touch(call_t *c);          /* the pump will look at it */
call_t *call_new(h2_conn_t *conn, int32_t id);
void    call_header(call_t *c, ensign_slice_t name, ensign_slice_t value);
void    call_pump(call_t *c);
void    calls_resume(h2_conn_t *conn);  /* those that were paused, or have more to send, and were read from */
void    call_free(call_t *c);
#endif
