/*
ensign.h - event streaming with Ensign, and gRPC to any server, in one C header

    Version 0.2.0. It comes from the project ensign.h, whose folder has its tests, examples and tools; this
    file is all that a program needs of it.
    Copyright (c) 2026, The ensign.h authors. SPDX-License-Identifier: BSD-3-Clause. The licence, which a copy
    of this file must keep, is its last comment.

DO THIS
    in ONE .c file   #define ENSIGN_IMPLEMENTATION       before the include, never in a header; with -std=c99
                                                         before all other includes
    everywhere       #include "ensign.h"                 C99 or C++11, or newer
    link             -lnghttp2 -lmbedtls -lmbedx509 -lmbedcrypto -lprotobuf-nanopb
                                                         and -lz where ENSIGN_GZIP is defined

SHORTEST PROGRAM, whole in examples/publish_one.c
    ensign_desc_t d = {0};                               0 in any field means its default
    ensign_desc_env(&d, &why);                           ENSIGN_CLIENT_ID, ENSIGN_CLIENT_SECRET, ...
    if (ensign_create(&d, &c, &why) != ENSIGN_OK) return fail(why.text);
    pd.topic = "weather";
    pub = ensign_publisher_open(c, &pd);
    event.data = ensign_str("{\"temp\": 72}");
    if (ensign_publish(c, pub, &event) != ENSIGN_OK) return fail(ensign_error(c)->text);
    if (ensign_publisher_flush(c, pub, 30000) != ENSIGN_OK) return fail(ensign_error(c)->text);
    ensign_destroy(c);                                   never blocks; to lose nothing: flush or close first

    To receive, open a subscription and ask for its next notice until the last:
    while (ensign_await(c, sub.id, -1, &n) == ENSIGN_OK && !n->last)
        if (n->type == ENSIGN_NOTICE_EVENT) { use(n->as.event); ensign_ack(c, sub, n->as.event->token); }

THE LOOP
    n = ensign_poll_set(c, set);                         which sockets, and what they wait for
    poll(set..., ensign_timeout(c, now));                yours: poll, epoll, kqueue, libuv, GLib, ...
    ensign_step(c, set, n, now);                         I/O and timers; blocks only in getaddrinfo
    while ((notice = ensign_next(c)) != NULL) ...        what happened, pulled one by one

    No loop of your own: ensign_wait and ensign_await are these lines.
    No sockets: ensign_link says what a connection wants; you move bytes by ensign_rx_buf, ensign_rx_ack,
    ensign_tx_buf and ensign_tx_ack, and call ensign_tick (whole: examples/sans_io.c). TLS can be yours there,
    too: tls.external (whole: examples/openssl.c).

RULES
    Client    One ensign_t: a connection to one gRPC server, by one of its endpoints (two for a while after a
              GOAWAY), and, with a client_id, one to its auth service.
              No globals, no threads. One thread uses it at a time; another one hands work over by a queue of
              yours, and wakes your loop by a descriptor of yours.
    Pull      What happens is a notice, and you pull it. We call you in the hooks of the desc only; a hook may
              not call into the client.
    Texts     of errors are one line, in UTF-8, without control characters: safe for a terminal. No text of an
              error, of the log or of a trace shows the client's secret, a token or the proxy's password:
              where a server repeats one, or eight bytes or more of its beginning, "***" stands there.
    Handles   Publishers, subscriptions, queries, requests and calls are ids. A call with one that has expired
              returns ENSIGN_E_HANDLE; it never crashes. No handle has the id 0. Where a handle is asked for,
              ENSIGN_CLIENT means the client. What serves every kind takes the id, what serves one kind the
              struct.
    Last      A notice with `last` is its handle's last: the handle dies at the next pull of any handle; until
              then the notice, its metadata and its stats stand.
    Ending    ensign_close ends a handle in good order, ensign_cancel at once, ensign_forget at once and
              without a notice: the same three for every handle, and for the client. A loop over one handle
              stops at its notice with `last`.
    Waiting   Nothing waits in silence. What is open makes progress, or has said in a WAITING notice why it
              does not and when it tries again, or one of its own limits runs. A stream that the server takes
              and never answers is opened again after open_timeout_ms. One exception: a query without a
              timeout_ms, and a call without a deadline_ms, that the server works on: its first row may
              honestly take long. Set keepalive_ms to tell such a slow server from a dead one: by default a
              query or a call alone sends no PING.
    Silence   A connection on which nothing comes is asked for a sign of life by an HTTP/2 PING: after
              keepalive_ms; when an ack_timeout_ms or an open_timeout_ms passes in which nothing came; and
              when a second deadline of calls or requests passes since anything came. If nothing comes within
              keepalive_timeout_ms after it, the connection is lost, and made again. At most two such PINGs
              are sent until the server sends HEADERS or DATA, and none without an open stream: gRPC's servers
              allow no more. Where the server allows no stream, and calls wait, the connection is made again
              instead.
    Online    OPEN and WAITING of a handle tell whether it is served. CONNECTED and DISCONNECTED tell of the
              newest connection: while an older one drains, attempts for the next one can fail.
    Order     ensign_next goes round all handles that have a notice, ensign_next_of asks one. The same seed
              and the same input give the same order. Nothing queues without bound: answers and events wait in
              the buffers of their handle, each GAP in its place; CONNECTED, DISCONNECTED, GOAWAY, WAITING,
              OPEN, ROOM and DRAINED come once, however often they were due since the last pull: of GOAWAY the
              newest one, and of WAITING and OPEN the newer one.
    You own   what you pass in: it is copied before the call returns, strings too. A 0 in a desc is the
              default; no wanted value is 0.
    We own    what a notice points at, until the next notice OF THAT HANDLE is pulled, the handle forgotten,
              or the client destroyed. Stepping, reconnecting and closing do not move it. To keep it longer:
              ensign_hold makes ensign_next pass a handle over.
    Results   0 done. Above 0: not now, and nothing was changed. Below 0: an error, nothing was changed. In
              both cases ensign_error says what was wrong and what to do. Openers return a handle, {0} on an
              error; a call with that {0} returns the opener's error, so it can be looked at later.
    AGAIN     Step, pull notices, try again at ROOM: one comes as soon as what was refused fits. What can
              never fit is ENSIGN_E_TOO_LARGE at once.
    Faults    A lost link or a failing server is a notice (DISCONNECTED, WAITING, GAP, NACK, END, FAILED),
              never the result of a step. TIMEOUT puts the last fault of the handle, or of the link, into
              ensign_error: why nothing came.
    Time      Monotonic milliseconds that you pass in; one that goes back is taken as the last. A duration
              that you give starts at the next step. The wall clock serves `created` and the dates of
              certificates; the life of a token is counted from its arrival.

WHAT IS PROMISED
    Publish   At least once, in order: an accepted event ends in exactly one ACK or NACK, before its
              publisher's END. What was not answered when a stream broke is sent again, with its first
              `created` time; at_most_once turns that into a NACK. Exceptions: ensign_forget, ensign_destroy.
    Subscribe Live, at most once: what is published while no stream is open is missed, and a GAP stands in its
              place. With `resume` each event comes once, in order within its topic, whatever breaks: a GAP
              stands only where the server's log has lost something or, where the server keeps no places,
              what was missed cannot be read by queries. With `group` each event comes at least once to a
              member of the group.
    Query     Rows in order, then one END; never run again by itself.
    Request   One answer, or END with an error. A list is many answers, then END. One that only reads, and
              ensign_topic_ensure, are sent again when the connection fails, within request_timeout_ms.
    Call      A unary call has one notice, REPLY, however it ends. A streaming call has one END, behind all
              whole messages of the server; cancel and deadline drop what is queued. `status` is always set:
              UNAVAILABLE when the link was lost. A call is sent again, once, if the server surely did not act
              on it; else only as its `retry` allows, and never once the server's headers have come.
    Streams   of publishers, subscriptions and health watches are opened again under the same handle until it
              is closed, the server refuses for good (key, permission, unknown topic), or give_up_after_ms is
              over. After a GOAWAY a new connection is made at once, or after a backoff where the server's
              code is an error; new calls go out on it. On the old one the running calls may finish
              (drain_timeout_ms) and publishers get their answers; a subscription leaves it when the new one
              is there, with a GAP where it cannot resume.
    Readers   A slow one holds up its own stream and no other: the server may send what fits in the buffer of
              the handle. That is window_bytes, and grows for one larger message up to its max_x_bytes.

MEMORY
    All of it goes through `alloc`, but for mbedTLS's, which has a heap of its own, and what getaddrinfo and
    the start of an HTTP/2 session take from malloc for a moment. Each buffer is taken when it is first used;
    those of a connection are given back when it ends. While events of up to window_bytes flow, nothing is
    allocated. A larger message needs a larger buffer, which is given back after it. When a second large one
    comes within 64 messages, the handle keeps two such buffers, until 64 smaller messages have come in a row
    or it ends. Before anything is opened, these tell the most that each can take; stats.memory stays under
    their sum. The most that each takes, for three settings:

                                           tiny       default    large
        ensign_memory_bound                305 KiB    2 MiB      5 MiB      the client, TLS on all links
        ensign_publisher_memory_bound      85 KiB     10 MiB     145 MiB    each of these beside it
        ensign_subscription_memory_bound   78 KiB     31 MiB     117 MiB
        ensign_query_memory_bound          40 KiB     11 MiB     37 MiB
        ensign_request_memory_bound        43 KiB     17 MiB     257 MiB
        ensign_call_memory_bound           29 KiB     13 MiB     197 MiB

    tiny     ENSIGN_LINK_BUFFER_BYTES 4096, ENSIGN_TOKEN_BYTES 2048; max_handles 8, topic_cache ENSIGN_OFF,
             max_header_bytes and max_answer_bytes 4096; every buffer, window and message limit 4096, events
             that are received 8192, max_in_flight and max_unacked 64, max_metadata_bytes 1024
    large    max_handles 65000, topic_cache 4096; windows and send buffers 4 MiB, a publisher's buffer 64 MiB
             and 16383 events in flight, replies and received events 16 MiB, max_unacked 1048576; answers and
             messages of calls 64 MiB, max_metadata_bytes 64 KiB
    ENSIGN_GZIP adds 416 KiB to ensign_memory_bound: zlib takes what it needs of them with the first message
    that it deals with, and keeps it. To ensign_call_memory_bound it adds max_message_bytes, for a message
    that is decompressed, and with `compress` the larger one of max_send_bytes and send_buffer_bytes, for one
    that is encoded in place.
    A third or more of ensign_memory_bound is for a second connection. It exists only while the first one
    drains after a GOAWAY. Where memory_limit has no room for it, the first one drains before.
    Nearly all of a default is room for the largest message, and for the map of topics that it may bring. What
    is used in fact is a small part of it: buffers grow to such a size only for such a message, and streams
    that are given the same map of topics share one copy.

CONTENTS    search for the mark
    >>macros      What can be defined before the include
    >>results     What functions return, and what errors are called
    >>values      Slices, identifiers, events
    >>descs       The client's desc, its life
    >>notices     What happened, pulled one by one
    >>ending      Close, cancel, forget: the same three for every handle
    >>loop        The loop, with sockets
    >>sansio      The loop, without sockets
    >>grpc_api    Any method of any server
    >>pub_api     Publish
    >>sub_api     Subscribe
    >>query_api   Query: stored events, by EnSQL
    >>req_api     Topics, status: the answer is a notice
    >>helpers     Pure functions, and statistics
    >>util        Small things: bytes, slices, errors, timers, random numbers
    >>mem         The allocator: counted, limited, small blocks kept
    >>env         What every object is given: memory, time, error, log
    >>trace       What the trace hook is told of each frame
    >>sock        Sockets as the OS has them, the state of one, and the race of a link's
    >>pb          The service's messages, by nanopb, decoded in place
    >>wire        The hot messages by hand: an event to publish, its answer; a received event, its ack
    >>id          Identifiers, MIME types, versions, metadata, and an event as text
    >>json        JSON, base64 and the dates in a token
    >>http1       HTTP/1.1 answers, in any cut, one form of request, and CONNECT
    >>gzip        gzip by zlib: one message at a time is compressed, or decompressed
    >>tls         TLS over memory, by mbedTLS
    >>handle      Numbers for objects; which of them are alive, have a notice, have a timer
    >>link        One connection: its life, buffers, a tunnel through a proxy, TLS; and its target, a server
    >>h2          HTTP/2: one nghttp2 client session, its streams, their receive buffers
    >>grpc        Calls: request headers, message prefix, metadata, deadlines, status
    >>auth        A token from an API key: HTTP/1.1 over the auth link
    >>topic       The map of topics that a stream brings, the cache of topics, and an event from its bytes
    >>state       The client's struct, which the objects below and the client itself share
    >>ping        Is the connection alive? Keepalive, and the test of a connection that is in doubt
    >>reopen      Streams that are opened again under the same handle: one keeper for all of them
    >>call        Public gRPC calls
    >>query       Queries: rows in place
    >>ask         One unary question to the service, for the objects below
    >>pub         Publishers: the ring, acks, resends
    >>place       Places: how far a subscription has come in each of its topics
    >>catchup     What a subscription has missed, read by EnSQL, for a server that keeps no places
    >>sub         Subscriptions: events in place, gaps, acks
    >>req         Requests: one question to the service, one answer
    >>client      Running the client: connect, pump, notices, endings
    >>create      Making a client: its desc checked and copied, the environment, the credentials file, bounds
    >>sockets     The driver: poll set, step, wait, await
*/

/* Strict C (-std=c99) hides the POSIX functions that sockets need; this shows them, if it stands first. */
#if defined(ENSIGN_IMPLEMENTATION) && !defined(ENSIGN_NO_SOCKETS) && !defined(_WIN32) && \
    defined(__STRICT_ANSI__) && !defined(_POSIX_C_SOURCE) && !defined(_XOPEN_SOURCE) && \
    !defined(_DEFAULT_SOURCE) && !defined(_GNU_SOURCE)
#define _POSIX_C_SOURCE 200809L
#endif

#ifndef ENSIGN_H
#define ENSIGN_H
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

/* >>macros    What can be defined before the include
 *
 * ENSIGN_IMPLEMENTATION    compile the implementation here
 * ENSIGN_STATIC            with it: every function is static, for use in this file only
 * ENSIGN_API               linkage of the public functions [extern; with ENSIGN_STATIC static]
 *
 * With ENSIGN_IMPLEMENTATION:
 * ENSIGN_MALLOC(n)  ENSIGN_REALLOC(p, n)  ENSIGN_FREE(p)
 *                          all three or none [stdlib.h]; a desc's `alloc` goes before them
 * ENSIGN_ASSERT(x)         checks our own invariants, never input or a peer [assert.h]
 * ENSIGN_GZIP              gzip for calls, by zlib (link -lz): a call can compress what it sends
 *                          (`compress`), and what comes compressed is decompressed for you [off: zlib is not
 *                          needed]
 *
 * Leave out, in every file that includes ensign.h:
 * ENSIGN_NO_SERVICE        Ensign's own API: a gRPC client remains
 * ENSIGN_NO_AUTH           the auth service: no client_id and no auth_url; a token of yours, or none
 * ENSIGN_NO_PROXY          HTTP proxies: no proxy
 * ENSIGN_NO_TLS            mbedTLS: TLS must be off (tls.off, and an auth_url of http://) or yours
 *                          (tls.external, and auth_tls.external)
 * ENSIGN_NO_SOCKETS        sockets and the OS's headers: the loop without sockets remains
 * ENSIGN_NO_DNS            getaddrinfo: io must be ENSIGN_IO_SOCKETS_NO_DNS, or each host an address
 * ENSIGN_NO_STDIO          files: trust comes from ca_pem, a client certificate from cert_pem and key_pem
 * ENSIGN_NO_LOG_TEXT       log lines: the `log` hook is never called (errors keep their text)
 * ENSIGN_NO_ERROR_TEXT     what errors say of their case, and the server's words: `text` is that of
 *                          ensign_result_text for the code */
#define ENSIGN_VERSION        "0.2.0"
#define ENSIGN_VERSION_NUMBER 200       /* major * 10000 + minor * 100 + patch, for #if */

/* Limits, the same in every file that includes ensign.h. */
#ifndef ENSIGN_LINK_BUFFER_BYTES
#define ENSIGN_LINK_BUFFER_BYTES 65536  /* of a link's receive, and of its transmit buffer; 4096 or more, and
                                           2048 more than ENSIGN_TOKEN_BYTES */
#endif
#ifndef ENSIGN_MAX_ADDRESSES
#define ENSIGN_MAX_ADDRESSES 8          /* of one host, that are tried; 1 or more */
#endif
#ifndef ENSIGN_TOKEN_BYTES
#define ENSIGN_TOKEN_BYTES 8192         /* longest access or refresh token, and a NUL; 256 or more */
#endif
#if ENSIGN_LINK_BUFFER_BYTES < 4096 || ENSIGN_MAX_ADDRESSES < 1 || ENSIGN_TOKEN_BYTES < 256
#error "ensign.h: ENSIGN_LINK_BUFFER_BYTES is under 4096, or ENSIGN_MAX_ADDRESSES under 1, or \
ENSIGN_TOKEN_BYTES under 256: make it larger, or leave it undefined"
#endif
#if ENSIGN_LINK_BUFFER_BYTES - 2048 < ENSIGN_TOKEN_BYTES
#error "ensign.h: ENSIGN_LINK_BUFFER_BYTES is not 2048 more than ENSIGN_TOKEN_BYTES: a request to the auth \
service, with a token and its headers, must fit; make it larger, or tokens shorter"
#endif

#ifndef ENSIGN_API
#if defined(ENSIGN_STATIC) && defined(__GNUC__)
#define ENSIGN_API static __attribute__((unused))
#elif defined(ENSIGN_STATIC)
#define ENSIGN_API static
#else
#define ENSIGN_API extern
#endif
#endif
#ifdef __cplusplus
extern "C" {
#endif

/* >>results   What functions return, and what errors are called
 *
 * One list: name, number, and what it means. The number's range tells the layer. */
#define ENSIGN_RESULT_LIST(X)                                                                                \
    X(OK, 0, "done")                                                                                         \
    X(AGAIN, 1, "no room now: step, pull notices, repeat at ROOM")                                           \
    X(TIMEOUT, 2, "the time was up; the error tells why nothing came, where that is known")                  \
    X(INTERRUPTED, 3, "a signal came during ensign_wait; call it again, or stop")                            \
    X(ENDED, 4, "the handle has ended; its last notice is waiting and tells why")                            \
    X(E_ARGUMENT, -1, "an argument or a field of a desc is out of its range")                                \
    X(E_HANDLE, -2, "no such handle: it has ended and its last notice was pulled, or it was forgotten")      \
    X(E_STATE, -3, "not allowed in this state")                                                              \
    X(E_MEMORY, -4, "no memory, or memory_limit is reached")                                                 \
    X(E_TOO_LARGE, -5, "can never fit: make it smaller or the limit larger")                                 \
    X(E_LIMIT, -6, "a limit of the desc is reached, such as max_handles")                                    \
    X(E_UNKNOWN_TOPIC, -7, "no such topic in this project: create it first")                                 \
    X(E_STALE, -8, "the token was forgotten (max_unacked) or is of an earlier stream")                       \
    X(E_FILE, -9, "a file cannot be read")                                                                   \
    X(E_FORMAT, -10, "text or bytes are not in the form that is needed")                                     \
    X(E_RESOLVE, -100, "the host name has no address; native: what the resolver said")                       \
    X(E_CONNECT, -101, "no address took the connection; native: errno")                                      \
    X(E_CLOSED, -102, "the peer closed the connection, or it broke; native: errno, 0 for an orderly end")    \
    X(E_STALLED, -103, "the peer did not answer in time")                                                    \
    X(E_PROXY, -104, "the proxy refuses; native: its HTTP status, 0: it does not answer in HTTP")            \
    X(E_TLS, -120, "the TLS handshake or a record failed; native: mbedTLS code")                             \
    X(E_CERTIFICATE, -121, "the certificate is not trusted, or not valid now")                               \
    X(E_HOSTNAME, -122, "the certificate is for another host")                                               \
    X(E_ALPN, -123, "the server does not offer HTTP/2 on this port")                                         \
    X(E_PROTOCOL, -200, "the peer broke HTTP; native: nghttp2 code or HTTP status")                          \
    X(E_GOAWAY, -201, "the server wants this connection to end; native: its code")                           \
    X(E_RESET, -202, "the stream was reset, mostly by the server; native: HTTP/2 code")                      \
    X(E_ABUSE, -203, "the peer sends more than it may")                                                      \
    X(E_CANCELLED, -301, "cancelled")                                                                        \
    X(E_UNKNOWN, -302, "the server gave no reason")                                                          \
    X(E_INVALID_ARGUMENT, -303, "the server refuses the request as it is")                                   \
    X(E_DEADLINE_EXCEEDED, -304, "the deadline passed")                                                      \
    X(E_NOT_FOUND, -305, "there is no such thing on the server")                                             \
    X(E_ALREADY_EXISTS, -306, "it is there already")                                                         \
    X(E_PERMISSION_DENIED, -307, "the key lacks the permission")                                             \
    X(E_RESOURCE_EXHAUSTED, -308, "a quota or a size limit is exceeded")                                     \
    X(E_FAILED_PRECONDITION, -309, "the server's state does not allow it")                                   \
    X(E_ABORTED, -310, "given up by the server; may work when repeated")                                     \
    X(E_OUT_OF_RANGE, -311, "past the valid range")                                                          \
    X(E_UNIMPLEMENTED, -312, "the server does not have this method")                                         \
    X(E_INTERNAL, -313, "the server, or the protocol between, failed")                                       \
    X(E_UNAVAILABLE, -314, "the server cannot be reached now; repeat later")                                 \
    X(E_DATA_LOSS, -315, "data was lost for good")                                                           \
    X(E_UNAUTHENTICATED, -316, "the server does not accept the token")                                       \
    X(E_CREDENTIALS, -400, "final: the auth service refuses this key")                                       \
    X(E_AUTH, -401, "the auth service failed; it is asked again; native: HTTP status, 0: there was none")    \
    X(E_NACK, -500, "the event was not stored, or is not known to be; native: ENSIGN_NACK_x")

enum {
#define ENSIGN_X(name, number, text) ENSIGN_##name = number,
    ENSIGN_RESULT_LIST(ENSIGN_X)
#undef ENSIGN_X
    ENSIGN_E_GRPC = -300            /* minus a gRPC status: the E_ of that status */
};

typedef struct ensign_error_t {
    int  code;                      /* ENSIGN_x */
    int  native;                    /* of the layer below, see the list; 0: none */
    char text[240];                 /* layer, what was seen, what is allowed, what to change; one line */
} ensign_error_t;

/* gRPC's status codes; the list above says of each, by its E_, what it means. */
enum {
    ENSIGN_GRPC_OK = 0,                     ENSIGN_GRPC_CANCELLED = 1,
    ENSIGN_GRPC_UNKNOWN = 2,                ENSIGN_GRPC_INVALID_ARGUMENT = 3,
    ENSIGN_GRPC_DEADLINE_EXCEEDED = 4,      ENSIGN_GRPC_NOT_FOUND = 5,
    ENSIGN_GRPC_ALREADY_EXISTS = 6,         ENSIGN_GRPC_PERMISSION_DENIED = 7,
    ENSIGN_GRPC_RESOURCE_EXHAUSTED = 8,     ENSIGN_GRPC_FAILED_PRECONDITION = 9,
    ENSIGN_GRPC_ABORTED = 10,               ENSIGN_GRPC_OUT_OF_RANGE = 11,
    ENSIGN_GRPC_UNIMPLEMENTED = 12,         ENSIGN_GRPC_INTERNAL = 13,
    ENSIGN_GRPC_UNAVAILABLE = 14,           ENSIGN_GRPC_DATA_LOSS = 15,
    ENSIGN_GRPC_UNAUTHENTICATED = 16
};

/* >>values    Slices, identifiers, events */
typedef struct ensign_slice_t { const uint8_t *ptr; size_t len; } ensign_slice_t;   /* no NUL behind it */
typedef struct ensign_ulid_t  { uint8_t b[16]; } ensign_ulid_t;                     /* topics; zeros: none */
typedef struct ensign_rlid_t  { uint8_t b[10]; } ensign_rlid_t;                     /* events */
typedef struct ensign_time_t  { int64_t seconds; int32_t nanos; } ensign_time_t;    /* Unix; {0, 0}: absent */
typedef struct ensign_pair_t  { const char *key, *value; } ensign_pair_t;           /* UTF-8 */

typedef struct ensign_header_t {    /* one entry of a call's metadata */
    const char    *key;             /* a-z 0-9 _ - . and not grpc-...; "...-bin": any bytes, we code them */
    ensign_slice_t value;           /* 0x20..0x7e, without a blank at either end; any bytes if the key
                                       ends in -bin */
} ensign_header_t;

typedef struct ensign_t ensign_t;                                       /* a client; opaque */
typedef struct ensign_publisher_t    { uint32_t id; } ensign_publisher_t;
typedef struct ensign_subscription_t { uint32_t id; } ensign_subscription_t;
typedef struct ensign_query_t        { uint32_t id; } ensign_query_t;
typedef struct ensign_request_t      { uint32_t id; } ensign_request_t; /* one question to the service */
typedef struct ensign_call_t         { uint32_t id; } ensign_call_t;    /* one gRPC call to any service */

#define ENSIGN_CLIENT  UINT32_MAX   /* where a handle is asked for: the client itself */
#define ENSIGN_FOREVER UINT32_MAX   /* where a time in milliseconds is asked for: no limit */
#define ENSIGN_OFF     UINT32_MAX   /* where a size is asked for: none of it */

#ifndef ENSIGN_NO_SERVICE
/* Fields that hold one of these are int or int32_t: a later server may send numbers that are not listed. */
enum { /* ensign_event_t.mimetype: how to read `data`. The numbers travel; ensign_mime_name has the names */
    ENSIGN_MIME_UNSPECIFIED = 0,               /* application/octet-stream, as the next two */
    ENSIGN_MIME_UNKNOWN = 0,
    ENSIGN_MIME_APPLICATION_OCTET_STREAM = 0,
    ENSIGN_MIME_TEXT_PLAIN = 1,
    ENSIGN_MIME_TEXT_CSV = 2,
    ENSIGN_MIME_TEXT_HTML = 3,
    ENSIGN_MIME_TEXT_CALENDAR = 4,
    ENSIGN_MIME_APPLICATION_JSON = 50,
    ENSIGN_MIME_APPLICATION_JSON_UTF8 = 50,
    ENSIGN_MIME_APPLICATION_JSON_LD = 51,      /* application/ld+json */
    ENSIGN_MIME_APPLICATION_JSON_LINES = 52,   /* application/jsonlines */
    ENSIGN_MIME_APPLICATION_UBJSON = 53,
    ENSIGN_MIME_APPLICATION_BSON = 54,
    ENSIGN_MIME_APPLICATION_XML = 100,
    ENSIGN_MIME_APPLICATION_ATOM = 101,        /* application/atom+xml */
    ENSIGN_MIME_APPLICATION_MSGPACK = 252,
    ENSIGN_MIME_APPLICATION_PARQUET = 253,
    ENSIGN_MIME_APPLICATION_AVRO = 254,
    ENSIGN_MIME_APPLICATION_PROTOBUF = 255,
    ENSIGN_MIME_APPLICATION_PDF = 512,
    ENSIGN_MIME_APPLICATION_JAVA_ARCHIVE = 513,
    ENSIGN_MIME_APPLICATION_PYTHON_PICKLE = 514,
    /* ten numbers for formats of your own: user/format-0 and so on */
    ENSIGN_MIME_USER_SPECIFIED0 = 1000, ENSIGN_MIME_USER_SPECIFIED1 = 1001,
    ENSIGN_MIME_USER_SPECIFIED2 = 1002, ENSIGN_MIME_USER_SPECIFIED3 = 1003,
    ENSIGN_MIME_USER_SPECIFIED4 = 1004, ENSIGN_MIME_USER_SPECIFIED5 = 1005,
    ENSIGN_MIME_USER_SPECIFIED6 = 1006, ENSIGN_MIME_USER_SPECIFIED7 = 1007,
    ENSIGN_MIME_USER_SPECIFIED8 = 1008, ENSIGN_MIME_USER_SPECIFIED9 = 1009
};

enum { /* why an event was refused (NACK notice), or refused by you (ensign_nack) */
    /* from the server; as of 0.12 it sends 1, 2 and 9 */
    ENSIGN_NACK_UNKNOWN = 0,                   /* no reason given */
    ENSIGN_NACK_MAX_EVENT_SIZE_EXCEEDED = 1,   /* the encoded event is over the server's limit */
    ENSIGN_NACK_TOPIC_UNKNOWN = 2,             /* no such topic, or not one of this publisher's; ours too */
    ENSIGN_NACK_TOPIC_ARCHIVED = 3,            /* the topic is read-only */
    ENSIGN_NACK_TOPIC_DELETED = 4,             /* the topic is being deleted */
    ENSIGN_NACK_PERMISSION_DENIED = 5,         /* the key may not publish here */
    ENSIGN_NACK_CONSENSUS_FAILURE = 6,         /* the nodes did not agree: publish it again */
    ENSIGN_NACK_SHARDING_FAILURE = 7,          /* the event came to the wrong node: publish it again */
    ENSIGN_NACK_REDIRECT = 8,                  /* another node takes this event */
    ENSIGN_NACK_INTERNAL = 9,                  /* the server could not store it: publish it again later */
    /* from a subscriber, by ensign_nack; as of 0.12 the server does nothing with them */
    ENSIGN_NACK_UNPROCESSED = 100,             /* the subscriber did not process the event */
    ENSIGN_NACK_TIMEOUT = 101,                 /* it did not finish in time */
    ENSIGN_NACK_UNHANDLED_MIMETYPE = 102,      /* it cannot read this MIME type */
    ENSIGN_NACK_UNKNOWN_TYPE = 103,            /* it does not know this schema */
    ENSIGN_NACK_DELIVER_AGAIN_ANY = 104,       /* deliver it again, to whomever */
    ENSIGN_NACK_DELIVER_AGAIN_NOT_ME = 105,    /* deliver it again, to another subscriber */
    /* from this library, never on the wire */
    ENSIGN_NACK_NOT_SENT = 1000,               /* never handed to a connection: safe to publish again */
    ENSIGN_NACK_OUTCOME_UNKNOWN = 1001         /* sent, and no answer came: may be stored */
};

enum { /* ensign_topic_t.state */
    ENSIGN_TOPIC_UNDEFINED = 0,                /* not told */
    ENSIGN_TOPIC_READY = 1,                    /* takes and delivers events */
    ENSIGN_TOPIC_READONLY = 2,                 /* archived */
    ENSIGN_TOPIC_DELETING = 3,                 /* being removed with its events */
    ENSIGN_TOPIC_PENDING = 4,                  /* waits for a job of the server, such as deduplication */
    ENSIGN_TOPIC_ALLOCATING = 5,               /* being given to nodes */
    ENSIGN_TOPIC_REPAIRING = 6                 /* being mended after a failure */
};

enum { /* state of the service, in a STATUS notice */
    ENSIGN_SERVICE_UNKNOWN = 0,                /* not told */
    ENSIGN_SERVICE_HEALTHY = 1,
    ENSIGN_SERVICE_UNHEALTHY = 2,              /* some requests fail */
    ENSIGN_SERVICE_DANGER = 3,                 /* about to fail */
    ENSIGN_SERVICE_OFFLINE = 4,
    ENSIGN_SERVICE_MAINTENANCE = 5             /* up, but refusing work for a while */
};

enum { /* deduplication strategy of a topic: when two events count as duplicates */
    ENSIGN_DEDUP_UNKNOWN = 0,                  /* the default: NONE */
    ENSIGN_DEDUP_NONE = 1,                     /* never */
    ENSIGN_DEDUP_STRICT = 2,                   /* data, metadata, MIME type and type are equal */
    ENSIGN_DEDUP_DATAGRAM = 3,                 /* data are equal */
    ENSIGN_DEDUP_KEY_GROUPED = 4,              /* data and the values of the policy's keys are equal */
    ENSIGN_DEDUP_UNIQUE_KEY = 5,               /* the values of the policy's keys are equal */
    ENSIGN_DEDUP_UNIQUE_FIELD = 6              /* the policy's fields are equal; server 0.12 fails at it */
};

enum { /* which of the duplicates stays the original */
    ENSIGN_DEDUP_OFFSET_UNKNOWN = 0,           /* the default: EARLIEST */
    ENSIGN_DEDUP_OFFSET_EARLIEST = 1,
    ENSIGN_DEDUP_OFFSET_LATEST = 2             /* server 0.12 takes it as EARLIEST */
};

enum { /* how a topic's events are spread over nodes; server 0.12 has one node, and changes none of it */
    ENSIGN_SHARDING_UNKNOWN = 0,
    ENSIGN_SHARDING_NONE = 1,
    ENSIGN_SHARDING_CONSISTENT_KEY_HASH = 2,
    ENSIGN_SHARDING_RANDOM = 3,
    ENSIGN_SHARDING_PUBLISHER_ORDERING = 4
};

enum { /* state in a HEALTH notice, of grpc.health.v1 */
    ENSIGN_HEALTH_UNKNOWN = 0,
    ENSIGN_HEALTH_SERVING = 1,
    ENSIGN_HEALTH_NOT_SERVING = 2,
    ENSIGN_HEALTH_SERVICE_UNKNOWN = 3          /* of a watch: the server has no such service, so far */
};

enum { /* ensign_param_t.type: which member of the union is meant */
    ENSIGN_PARAM_INT = 1,                      /* as.i */
    ENSIGN_PARAM_DOUBLE = 2,                   /* as.d */
    ENSIGN_PARAM_BOOL = 3,                     /* as.b */
    ENSIGN_PARAM_BYTES = 4,                    /* as.bytes */
    ENSIGN_PARAM_STRING = 5                    /* as.s */
};
#endif /* ENSIGN_NO_SERVICE */

typedef struct ensign_type_t {      /* schema of an event's data */
    ensign_slice_t name;            /* len 0: none */
    uint32_t major, minor, patch;
} ensign_type_t;

/* What is published and what is received: forwarding an event is one assignment. */
typedef struct ensign_event_t {
    ensign_slice_t data;            /* the payload, any bytes */
    int32_t        mimetype;        /* ENSIGN_MIME_x, or any number of an agreed meaning */
    ensign_type_t  type;
    ensign_time_t  created;         /* the publisher's clock; to publish: {0, 0} means now */
    ensign_slice_t metadata;        /* encoded pairs: read by ensign_metadata_next, published as they are */
    ensign_slice_t key;             /* passed through, as the next two; server 0.12 uses none of them */
    ensign_slice_t encryption;      /* encoded Encryption message; publish: E_ARGUMENT if it is not one */
    ensign_slice_t compression;     /* encoded Compression message; the same */
    /* publish only */
    const char    *topic;           /* name, up to 512 bytes, or ULID as text; NULL or "":
                                       `to_topic_id`; zeros too: the publisher's */
    ensign_ulid_t  to_topic_id;
    const ensign_pair_t *pairs;     /* metadata to encode, added to .metadata */
    size_t         pair_count;
    uint64_t       tag;             /* yours; given back in the ACK or NACK */
    /* received only; publish does not look at them */
    ensign_rlid_t  id;
    ensign_ulid_t  topic_id;
    ensign_slice_t topic_name;      /* as of the stream's start, or from the topic cache; empty: not known */
    ensign_slice_t publisher_id, publisher_client_id, publisher_address, publisher_agent;
    ensign_time_t  committed;       /* the server's clock, after the write; not in rows: 0.12 keeps none */
    uint64_t       offset, epoch;   /* its place, as >>sub_api tells; 0 from server 0.12 */
    ensign_rlid_t  duplicate_of;    /* zeros: not a duplicate */
    uint64_t       token;           /* for ensign_ack and ensign_nack; 0: no memory to remember it */
} ensign_event_t;

/* >>descs     The client's desc, its life */
typedef struct ensign_tls_desc_t {
    bool        off;                /* plaintext: HTTP/2 with prior knowledge */
    const char *ca_file;            /* trusted certificates, PEM [the system's bundle] */
    ensign_slice_t ca_pem;          /* the same from memory, instead of a file */
    const char *server_name;        /* name that the certificate must have [the endpoint's host; of a unix
                                       socket localhost] */
    const char *cert_file;          /* our own certificate, for a server that asks for one: PEM, followed by
                                       its chain without the root [none]. It needs a key. It is read at the
                                       first connection, with the key and the trusted certificates; a file
                                       that cannot be read is tried again at the next attempt, and one that
                                       was read is not read again */
    ensign_slice_t cert_pem;        /* the same from memory, instead of a file */
    const char *key_file;           /* key of that certificate, PEM: RSA or EC, PKCS #1, #8 or SEC1 */
    ensign_slice_t key_pem;         /* the same from memory, instead of a file; our copy is wiped at
                                       destroy */
    const char *key_password;       /* of an encrypted key [none]; our copy is wiped at destroy */
    int         min_version;        /* ENSIGN_TLS_x [ENSIGN_TLS_1_2]. TLS 1.3 is used wherever mbedTLS and the
                                       server have it; mbedTLS 2.28 lacks it, so ENSIGN_TLS_1_3 is refused
                                       there with E_ARGUMENT */
    bool        no_resume;          /* [false] a connection that is made again resumes the TLS session, where
                                       the server gives tickets. That saves a round trip and the
                                       certificates. Sessions are kept in memory, each for one endpoint and
                                       server_name. The server shows no certificate then, so one that has
                                       changed or expired is noticed a day after the last full handshake at
                                       the latest */
    bool        ignore_dates;       /* [false] for a device without a clock; warns at every connect */
    bool        insecure_skip_verify; /* [false] any certificate will do, so anybody can read along; warns at
                                         every connect */
    void      (*key_log)(void *user, const char *line);
                                    /* gets the secrets of each connection, to decrypt a recording of it: a
                                       line of the NSS key log format without its end, and the desc's user.
                                       The line is wiped after the call. It may not call into the client. It
                                       is for tests only, and warns at every connect [none] */
    bool        external;           /* [false] TLS is yours: what you move through rx and tx is what is inside
                                       of it. Tokens and keys go out as over our own, the scheme is https, and
                                       no mbedTLS runs. You check the certificate, the name and ALPN:
                                       ensign_link_t has the last two. It needs ENSIGN_IO_CALLER, and the
                                       other fields of this struct must be zero, for they have no effect:
                                       else E_ARGUMENT */
} ensign_tls_desc_t;

enum {                              /* ensign_tls_desc_t.min_version: the numbers that TLS has for them */
    ENSIGN_TLS_1_2 = 0x0303,
    ENSIGN_TLS_1_3 = 0x0304
};

enum {                              /* ensign_desc_t.io: who does the I/O */
    ENSIGN_IO_SOCKETS = 0,          /* ensign_step, by sockets; getaddrinfo may block inside of it */
    ENSIGN_IO_SOCKETS_NO_DNS = 1,   /* the same, but you answer ENSIGN_LINK_RESOLVE */
    ENSIGN_IO_CALLER = 2            /* you: the loop without sockets */
};

enum { ENSIGN_LOG_ERROR = 1, ENSIGN_LOG_WARNING = 2, ENSIGN_LOG_INFO = 3, ENSIGN_LOG_DEBUG = 4 };

/* How often a call is tried, and when (gRPC's proposal A6). A field that is 0 has the value of the longest
 * match in the client's `methods`, else that of the client's `retry`, else its default.
 *
 * A further attempt follows one that ended with one of `statuses` before the server's headers came. Trailers
 * alone, and an answer that is not gRPC, are not such headers. The request is kept in the send buffer; a call
 * that sends more than the buffer holds is not tried again. deadline_ms counts for all attempts and the waits
 * between them; a wait that would outlast it is not begun. The server's grpc-retry-pushback-ms is obeyed: it
 * says how long to wait, or, if it is negative or malformed, that no attempt may follow. All calls of a
 * client share 10 tokens. An attempt that fails with one of `statuses`, or after which the server allows no
 * other, takes 1; a call that ends OK gives 0.1 back. A further attempt is made only while more than 5 are
 * left. END and REPLY tell of the last attempt. */
typedef struct ensign_retry_t {
    uint32_t    max_attempts;       /* with the first one [1], 1..5; what is sent again because the server
                                       surely did not act on it does not count. A call without
                                       wait_for_ready that cannot be sent uses one up */
    uint32_t    backoff_min_ms;     /* a second attempt waits for a random time from 0 to this; the limit
                                       doubles with each further one [100], 1..3600000 */
    uint32_t    backoff_max_ms;     /* the highest limit [5000], backoff_min_ms..3600000 */
    uint32_t    statuses;           /* bits: 1u << ENSIGN_GRPC_x of each that is tried again [UNAVAILABLE] */
} ensign_retry_t;

typedef struct ensign_method_t {    /* what calls of some methods have alike */
    const char *method;             /* "/package.Service/Method", or "/package.Service/" for all of it */
    uint32_t    deadline_ms;        /* of a call whose desc has none [none] */
    ensign_retry_t retry;
} ensign_method_t;

enum {                              /* ensign_frame_t.type: HTTP/2's numbers (RFC 9113, 6), and two of ours */
    ENSIGN_FRAME_DATA = 0,          ENSIGN_FRAME_HEADERS = 1,       ENSIGN_FRAME_PRIORITY = 2,
    ENSIGN_FRAME_RST_STREAM = 3,    ENSIGN_FRAME_SETTINGS = 4,      ENSIGN_FRAME_PUSH_PROMISE = 5,
    ENSIGN_FRAME_PING = 6,          ENSIGN_FRAME_GOAWAY = 7,        ENSIGN_FRAME_WINDOW_UPDATE = 8,
    ENSIGN_FRAME_CONTINUATION = 9,
    ENSIGN_FRAME_REQUEST = 256,     /* of HTTP/1.1, to the auth service or a proxy */
    ENSIGN_FRAME_ANSWER = 257       /* and what it answers */
};

typedef struct ensign_setting_t { uint32_t id, value; } ensign_setting_t;   /* of a SETTINGS frame */

/* A frame, as the trace hook gets it. The pointers stand while the hook runs. The values of headers are not
 * here, and of a payload nothing but the numbers below. */
typedef struct ensign_frame_t {
    int         link;               /* ENSIGN_LINK_x that it goes over */
    bool        out;                /* we send it; false: it came */
    int         type;               /* ENSIGN_FRAME_x, or the number of another frame of HTTP/2 */
    uint32_t    flags;              /* as they are on the wire */
    uint32_t    stream;             /* 0: the connection */
    uint32_t    length;             /* bytes of the payload; HTTP/1.1: of the body */
    uint32_t    code;               /* RST_STREAM, GOAWAY: HTTP/2's error code; ANSWER: HTTP status */
    uint32_t    last_stream;        /* GOAWAY: the last stream that its sender looks at */
    uint32_t    increment;          /* WINDOW_UPDATE */
    const ensign_setting_t *settings; /* SETTINGS: the first 16 */
    size_t      setting_count;
    const char *names;              /* of the header fields, in their order, one blank between two; of a
                                       REQUEST behind its method and path; "": none. '?' replaces each byte
                                       that is not printable ASCII */
    bool        names_cut;          /* `names` has the first ones only; it holds 1023 bytes */
} ensign_frame_t;

/* In brackets: the default, which a zero stands for. Times in ms, sizes in bytes. */
typedef struct ensign_desc_t {
    const char *endpoint;           /* "host:port", "[v6]:port", port 1..65535, or "unix:/path" (of up to 107
                                       bytes, without a comma); a list with commas gives several; with a
                                       client_id [ensign.rotational.app:443], else required. The endpoints are
                                       tried in turn, the one that worked last first, before a backoff */
    const char *const *endpoints;   /* the same as an array, in place of `endpoint` */
    size_t      endpoint_count;     /* of it; up to 64 endpoints */
    bool        shuffle_endpoints;  /* [false] try them in an order that `seed` draws at create */
    const char *auth_url;           /* "https://host[:port]", or http: used with a client_id, and by
                                       ensign_auth_status; a list with commas gives several, tried in turn
                                       [with a client_id https://auth.rotational.app] */
    const char *proxy;              /* "http://[user:password@]host:port", %40 for a @ in the password: gRPC
                                       and auth go through it by CONNECT, with TLS or without [none]; "": none
                                       whatever the environment says. Our copy of the password is wiped at
                                       destroy */
    const char *no_proxy;           /* hosts that are reached without it, with commas or blanks between:
                                       "example.com" (and its subdomains), "10.0.0.1", "10.0.0.0/8", each but
                                       the last with :port perhaps; "*": all; "": none. An entry of another
                                       shape is skipped ["localhost,127.0.0.0/8,::1"]. A unix socket never
                                       goes through the proxy */
    const char *client_id;          /* API key; NULL: none */
    const char *client_secret;      /* required with a client_id; our copy is wiped at destroy */
    const char *token;              /* a fixed bearer token, instead of a key, up to ENSIGN_TOKEN_BYTES; wiped
                                       at destroy */
    bool        allow_plaintext_token; /* [false] plaintext is for localhost, 127.x.x.x, ::1 and unix sockets,
                                          and never for what goes through a proxy: for other endpoints key and
                                          token are refused over it */
    ensign_tls_desc_t tls;          /* of the gRPC connection */
    ensign_tls_desc_t auth_tls;     /* of the auth service, for URLs of https://; `off` is not looked at: the
                                       URL says it */
    const char *authority;          /* :authority of requests, up to 255 bytes [the endpoint in use; of a unix
                                       socket localhost] */
    const char *name;               /* client_id on streams, shown to subscribers as who publishes; up to 512
                                       bytes [a ULID made at create] */
    const char *user_agent;         /* put before our own; up to 100 bytes */
    int         io;                 /* ENSIGN_IO_x [ENSIGN_IO_SOCKETS] */
    uint32_t    connect_timeout_ms; /* for each endpoint, from name look-up to the server's SETTINGS, all its
                                       addresses together: each is tried once, and one that takes the
                                       connection and stays mute gets the time that is left, divided by one
                                       more than the addresses that are left (the last one gets all of it)
                                       [20000] */
    uint32_t    auth_timeout_ms;    /* of one exchange with the auth service, for each URL, look-up to answer,
                                       all its addresses together, as above [20000] */
    uint32_t    request_timeout_ms; /* of a request (ensign_topic_create and its like), all its calls [30000];
                                       a list: of each page, the time of reading it left out */
    uint32_t    open_timeout_ms;    /* how long the server may take to open a stream: from its headers to the
                                       server's ready, for a watch to its first state. After that the stream
                                       is reset, its handle has WAITING with E_STALLED, and another one is
                                       opened [30000], ENSIGN_FOREVER: no limit */
    uint32_t    drain_timeout_ms;   /* how long an old connection may go on with its calls after a GOAWAY.
                                       Then it is cut, and they END UNAVAILABLE. It is cut earlier when the
                                       next connection, too, gets a GOAWAY while it has calls [ENSIGN_FOREVER,
                                       as gRPC] */
    uint32_t    give_up_after_ms;   /* failing for so long without a break is FAILED, or, where the server
                                       refuses one handle's stream alone, its END [ENSIGN_FOREVER]. It counts
                                       failed attempts to connect and to get a token, also while old streams
                                       still run on a draining connection, or with an older token */
    uint32_t    backoff_min_ms;     /* after a first failure the next attempt waits from 0 to this, drawn by
                                       chance. The limit doubles with each further failure, and is at most the
                                       time since the first failure plus backoff_min_ms [100] */
    uint32_t    backoff_max_ms;     /* the longest wait for an attempt [30000], backoff_min_ms or more */
    uint32_t    keepalive_ms;       /* the silence after which one HTTP/2 PING asks whether the server is
                                       there [320000, and it then counts the streams of publishers,
                                       subscriptions and watches only; a value that you give counts every
                                       open stream], 1000 or more; ENSIGN_FOREVER: never. It is doubled when
                                       the server says too_many_pings */
    uint32_t    keepalive_timeout_ms; /* the silence after a PING that ends the connection with E_STALLED, and
                                         has it made again [20000] */
    ensign_retry_t retry;           /* of calls (ensign_call_open) for which neither their desc nor `methods`
                                       says more. Requests, publishers and the rest have their own rules */
    const ensign_method_t *methods; /* deadline and retry of such calls by their method. The longest match
                                       counts, and a call's own desc goes before it */
    size_t      method_count;       /* up to 1000 */
    uint32_t    max_handles;        /* publishers, subscriptions, requests, calls at once [64], 1..65000 */
    uint32_t    topic_cache;        /* topics whose name and id are remembered, from the maps that streams
                                       bring, from requests' answers [256], 1..4096; ENSIGN_OFF: none */
    uint32_t    connection_window;  /* HTTP/2 receive window of the connection [1 MiB], 65535..2147483647 */
    uint32_t    max_header_bytes;   /* of one header of HTTP/2: a server that sends one of over twice this (or
                                       over 16 KiB) loses its connection. Whatever this is, nghttp2 takes no
                                       header of over 65,536 bytes on the wire, and no headers in more than 8
                                       CONTINUATION frames. A call's request headers may take three quarters
                                       of it [64 KiB], 4096..64 KiB */
    uint32_t    max_answer_bytes;   /* largest answer to a request, and largest request: a larger one is END
                                       with E_TOO_LARGE, or is refused with it [4 MiB], 1024..1 GiB */
    size_t      memory_limit;       /* of all that we and nghttp2 allocate; beyond it: E_MEMORY [none] */
    uint64_t    seed;               /* of jitter, local ids and `name`, never of TLS [`random`, or the OS] */
    void       *user;               /* handed to the hooks, and the `user` of the client's notices */
    /* Hooks. None of them may call into the client. */
    int64_t   (*wall_ms)(void *user);
                                    /* Unix time in ms, for `created`; 0 or less: unknown [the OS] */
    int       (*random)(void *user, void *out, size_t len);
                                    /* entropy, for TLS and for the seed; 0: done [the OS] */
    void      (*wake)(void *user);  /* a call outside of a step (ensign_next too) has left work: make your
                                       loop step soon, no more; once, until it does [none] */
    void      (*log)(void *user, int level, const char *text);
                                    /* ENSIGN_LOG_x, and a line without its end, which is ours [none] */
    void      (*trace)(void *user, const ensign_frame_t *frame);
                                    /* called for each frame of HTTP/2, when it is handed to the link or has
                                       come whole, and for each request to the auth service or a proxy and
                                       its answer. Frames can be many, so return soon [none] */
    void     *(*alloc)(void *user, void *old, size_t size);
                                    /* as realloc; size 0: free, return NULL [ENSIGN_REALLOC and its like] */
} ensign_desc_t;

/* Fills what is NULL from ENSIGN_ENDPOINT, ENSIGN_AUTH_URL, ENSIGN_CLIENT_ID and ENSIGN_CLIENT_SECRET (both
 * unless there is a token), ENSIGN_CA_FILE and ENSIGN_MIN_TLS (tls and auth_tls), ENSIGN_CERT_FILE and
 * ENSIGN_KEY_FILE (tls alone, and both or none: a certificate or key that is set leaves them out), and
 * ENSIGN_KEY_PASSWORD (tls alone, where it has a key); proxy from HTTPS_PROXY, else ALL_PROXY, and no_proxy
 * from NO_PROXY (these three in lower case too; an empty one counts as unset). ENSIGN_INSECURE sets tls.off,
 * ENSIGN_NO_AUTHENTICATION leaves the key out; neither clears what the program has set. These two are 1 y t
 * yes true on, or empty 0 n f no false off, in any case; ENSIGN_MIN_TLS is 1.2 or 1.3, or empty;
 * ENSIGN_ATTEMPTS, which fills retry.max_attempts, is 1 to 5, or empty: else E_FORMAT, nothing is filled, and
 * *why names the variable. Where tls or auth_tls has `external` set already, it gets nothing but tls.off. The
 * strings are getenv's: create before the environment changes. why may be NULL. */
ENSIGN_API int  ensign_desc_env(ensign_desc_t *d, ensign_error_t *why);

#ifndef ENSIGN_NO_STDIO
/* Fills client_id and client_secret, both or none, from a JSON file {"ClientID": "..", "ClientSecret": ".."},
 * as the service gives it out; other members are passed over. What the desc has already stays, a token too.
 * Of several sources the first one counts: fields set by the program, then the files and the environment in
 * the order of the calls. The strings lie in buf, which must stand until ensign_create; twice the file's size
 * is enough. E_FILE: it cannot be read; E_TOO_LARGE: it does not fit buf; E_FORMAT: it is no JSON object, or
 * a member is missing, empty or no string: then *why names it, and nothing is filled. why may be NULL. */
ENSIGN_API int  ensign_desc_file(ensign_desc_t *d, const char *path, char *buf, size_t cap,
                                 ensign_error_t *why);
#endif

/* Checks and copies the desc; no I/O. The first steps connect; a connection that was lost is made again when
 * a handle needs it. On an error *out is NULL and *why tells (why may be NULL). ensign_destroy ends it. */
ENSIGN_API int  ensign_create(const ensign_desc_t *d, ensign_t **out, ensign_error_t *why);

/* Frees all at once and closes the sockets, at any time but inside a hook; what is in flight is forgotten, no
 * notice comes, and every notice is gone. NULL is fine. */
ENSIGN_API void ensign_destroy(ensign_t *c);

/* What the last call on this client met that did not return OK: AGAIN, TIMEOUT and their like have a text,
 * too. Never NULL; it stands until the next such call. */
ENSIGN_API const ensign_error_t *ensign_error(const ensign_t *c);

/* For code on top of this API, such as what protoc-gen-ensign writes: puts an error of its own, or a result
 * above 0, into ensign_error, formatted as by printf. Returns `code`, which must not be OK. After an error a
 * call with a {0} handle returns that error, as after an opener of ours. */
#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
ENSIGN_API int ensign_fail(ensign_t *c, int code, int native, const char *format, ...);

/* The most that a client takes through `alloc` for itself, nghttp2 included: without its handles, which have
 * bounds of their own, and without mbedTLS's heap. */
ENSIGN_API size_t ensign_memory_bound(const ensign_desc_t *d);

/* >>notices   What happened, pulled one by one */
typedef enum ensign_notice_type_t {
    /* of ENSIGN_CLIENT */
    ENSIGN_NOTICE_CONNECTED = 1,    /* the server's SETTINGS are here: as.connected */
    ENSIGN_NOTICE_DISCONNECTED,     /* the connection is lost, or every address of every endpoint has failed:
                                       error, as.disconnected */
    ENSIGN_NOTICE_GOAWAY,           /* the server wants the connection to end: error has its code and text.
                                       Running calls go on, new ones wait for the next connection, whose
                                       CONNECTED follows. The end of this connection gives no DISCONNECTED
                                       while its calls run on beside the next one. Where no call runs it gives
                                       one if the server's code is an error, if it answered nothing, or if
                                       this and the connection before both lasted less than backoff_min_ms
                                       and gave fewer than 8 answers */
    ENSIGN_NOTICE_FAILED,           /* for good: error; before it ensign_next gives the END of each handle
                                       that is not held */
    ENSIGN_NOTICE_CLOSED,           /* after ensign_close, behind every END: nothing more comes, but from
                                       handles that are held */
    /* of publishers, subscriptions, watches of health, queries and streaming calls */
    ENSIGN_NOTICE_WAITING,          /* nothing comes for now, and it goes on by itself: error tells why,
                                       as.waiting when the next attempt is due; again when the reason is
                                       another one */
    /* of publishers and subscriptions; ROOM of publishers and calls */
    ENSIGN_NOTICE_OPEN,             /* the stream is ready: as.open; again after each reconnect */
    ENSIGN_NOTICE_ROOM,             /* what was refused with AGAIN fits now */
    /* of publishers */
    ENSIGN_NOTICE_ACK,              /* stored: as.ack */
    ENSIGN_NOTICE_NACK,             /* not stored, or not known to be: error, as.nack */
    ENSIGN_NOTICE_DRAINED,          /* answer to ensign_publisher_drain: as.drained */
    /* of subscriptions and queries */
    ENSIGN_NOTICE_EVENT,            /* as.event */
    ENSIGN_NOTICE_GAP,              /* events can be missing at this place: error, as.gap */
    /* of requests: the answer */
    ENSIGN_NOTICE_TOPIC,            /* as.topic */
    ENSIGN_NOTICE_TOPIC_STATE,      /* as.topic_state */
    ENSIGN_NOTICE_EXISTS,           /* as.exists */
    ENSIGN_NOTICE_PROJECT,          /* as.project */
    ENSIGN_NOTICE_TOPIC_INFO,       /* as.topic_info */
    ENSIGN_NOTICE_TYPE_INFO,        /* as.type_info, of the topic of the TOPIC_INFO before */
    ENSIGN_NOTICE_PLAN,             /* as.plan */
    ENSIGN_NOTICE_STATUS,           /* as.status */
    ENSIGN_NOTICE_HEALTH,           /* as.health */
    /* of unary calls: their one notice, always `last`; `error` has the reason of a failure */
    ENSIGN_NOTICE_REPLY,            /* as.reply */
    /* of streaming calls */
    ENSIGN_NOTICE_HEADERS,          /* the server's initial metadata is here */
    ENSIGN_NOTICE_MESSAGE,          /* as.message */
    /* of every handle but a unary call and a request with one answer: always `last`; error tells why, NULL:
       all is well */
    ENSIGN_NOTICE_END               /* as.end */
} ensign_notice_type_t;

typedef enum ensign_stored_t {
    ENSIGN_STORED_NO,               /* surely not: publishing it again is safe. It was never sent whole, or
                                       the only stream that it was sent on has refused it */
    ENSIGN_STORED_MAYBE             /* publishing it again can make a duplicate: a stream that had the whole
                                       of it ended without an answer to it, whatever a later stream says */
} ensign_stored_t;

typedef struct ensign_topic_t {     /* a topic's record on the server */
    ensign_ulid_t  id, project_id;
    ensign_slice_t name;
    bool           readonly;        /* archived */
    int            state;           /* ENSIGN_TOPIC_x */
    int            dedup_strategy;  /* ENSIGN_DEDUP_x */
    int            dedup_offset;    /* ENSIGN_DEDUP_OFFSET_x */
    bool           overwrite_duplicate;
    /* of the deduplication, encoded: read by ensign_topic_key_next and ..._field_next */
    ensign_slice_t keys, fields;
    ensign_time_t  created, modified;
    /* not kept by server 0.12 */
    uint64_t       offset;
    uint32_t       shards;
    ensign_slice_t types;           /* encoded: read by ensign_topic_type_next */
    /* field 12 of Topic, encoded as it came (proto/api/v1beta1/topic.proto) */
    ensign_slice_t placements;
} ensign_topic_t;

typedef struct ensign_project_t {   /* sums over the topics that were asked for */
    ensign_ulid_t id;
    uint64_t      topics, readonly_topics;
    uint64_t      events;           /* stored, duplicates too */
    uint64_t      duplicates;
    uint64_t      data_bytes;       /* of the stored events, with all that is around them */
} ensign_project_t;

typedef struct ensign_topic_info_t {
    ensign_ulid_t  id, project_id;
    ensign_slice_t name;            /* from the topic cache; empty: not known */
    ensign_rlid_t  last_event;      /* the last one that was counted; zeros: none was */
    uint64_t       events, duplicates, data_bytes;
    ensign_time_t  modified;        /* when the server counted; {0, 0}: not yet, and the numbers are 0 */
} ensign_topic_info_t;

typedef struct ensign_type_info_t { /* one pair of type and MIME type of a topic's events */
    ensign_type_t  type;            /* "Unspecified" stands for none */
    int32_t        mimetype;
    uint64_t       events, duplicates, data_bytes;
    ensign_time_t  modified;        /* never set by server 0.12 */
} ensign_type_info_t;

/* The arms of a notice. Slices and pointers stand as long as the notice does. */
typedef struct ensign_notice_connected_t {
    const char *endpoint;           /* "host:port" or "unix:/path", of those in the desc */
    const char *address;            /* of the endpoint, or of the proxy; "": the caller did not say which */
} ensign_notice_connected_t;

typedef struct ensign_notice_disconnected_t {
    uint32_t retry_in_ms;           /* 0: now; ENSIGN_FOREVER: when a handle needs the connection */
    const char *endpoint;           /* of the connection, or the last one that was tried */
    const char *address;            /* as of CONNECTED; "": no address took the connection */
} ensign_notice_disconnected_t;

/* It tells of the first attempt that failed for this reason. DISCONNECTED of ENSIGN_CLIENT tells of each
 * further one, where it is the connection that fails. */
typedef struct ensign_notice_waiting_t {
    uint32_t retry_in_ms;           /* 0: now; ENSIGN_FOREVER: with the next event that is published */
    uint32_t failures;              /* in a row; of a call with `retry` its attempts so far */
} ensign_notice_waiting_t;

typedef struct ensign_notice_open_t {
    uint32_t times;                 /* streams of this handle so far; above 1: opened again, after a loss, or
                                       for a topic that a publisher was given */
    uint32_t topics;                /* that this stream has: read by ensign_open_next, as the next */
    uint32_t missing;               /* that were asked for and are not there, as a name with a typo */
} ensign_notice_open_t;

typedef struct ensign_notice_ack_t {
    uint64_t      tag;              /* of the event, as it was published */
    ensign_time_t committed;        /* the server's clock, after the write */
} ensign_notice_ack_t;

typedef struct ensign_notice_nack_t {
    uint64_t        tag;            /* of the event, as it was published */
    int             code;           /* ENSIGN_NACK_x; the notice's error has the words */
    ensign_stored_t stored;
    const ensign_event_t *event;    /* the event, to keep or to send elsewhere. `topic` is NULL, `to_topic_id`
                                       has the id; where that is zeros no id is known, and topic_name has the
                                       name */
} ensign_notice_nack_t;

typedef struct ensign_notice_drained_t {
    uint64_t acked, nacked;         /* since the publisher was opened */
    uint64_t left;                  /* not answered when the time was up; 0: all are */
} ensign_notice_drained_t;

typedef struct ensign_notice_gap_t {
    ensign_slice_t topic;           /* as asked for, where that was one, or that which could not be caught up
                                       with; empty: any of the subscription's */
    ensign_time_t  since;           /* commit time of the last event before; {0, 0}: none came */
    uint32_t       times;           /* gaps merged in this one: the error is that of a break, if one was */
} ensign_notice_gap_t;

typedef struct ensign_notice_topic_state_t {
    ensign_ulid_t id;
    int           state;            /* ENSIGN_TOPIC_x */
} ensign_notice_topic_state_t;

typedef struct ensign_notice_exists_t {
    bool exists;
} ensign_notice_exists_t;

typedef struct ensign_notice_plan_t {
    ensign_slice_t bytes;           /* the QueryExplanation message, whose schema has no fields so far */
} ensign_notice_plan_t;

typedef struct ensign_notice_status_t {
    int            state;           /* ENSIGN_SERVICE_x */
    ensign_slice_t version;
    int64_t        uptime_ms;
    /* when to ask again, as the server wishes; {0, 0}: it does not say */
    ensign_time_t  not_before, not_after;
} ensign_notice_status_t;

typedef struct ensign_notice_health_t {
    int state;                      /* ENSIGN_HEALTH_x */
} ensign_notice_health_t;

typedef struct ensign_notice_reply_t {
    int            status;          /* ENSIGN_GRPC_x, always set; a lost link is UNAVAILABLE */
    ensign_slice_t message;         /* the answer; empty unless the status is 0 */
    bool           compressed;      /* the message is, by one of the call's accept_encoding: decompress it */
    bool           decompressed;    /* it came compressed, and ENSIGN_GZIP has decompressed it */
    /* as in ensign_notice_end_t */
    ensign_slice_t text, details;
    bool           from_server, unprocessed;
    int64_t        retry_after_ms;
    bool           metadata_cut;
    uint32_t       attempts;
} ensign_notice_reply_t;

typedef struct ensign_notice_message_t {
    ensign_slice_t bytes;           /* one whole gRPC message */
    bool           compressed;      /* by one of the call's accept_encoding: decompress it */
    bool           decompressed;    /* it came compressed, and ENSIGN_GZIP has decompressed it */
} ensign_notice_message_t;

typedef struct ensign_notice_end_t {
    int            status;          /* ENSIGN_GRPC_x, always set; a lost link is UNAVAILABLE */
    uint64_t       count;           /* messages, events or answers given; of a publisher: events acked */
    ensign_slice_t text, details;   /* grpc-message and grpc-status-details-bin, decoded: any bytes */
    bool           from_server;     /* the status came in the server's trailers */
    bool           unprocessed;     /* the server surely did not act on the call, in any attempt: repeating it
                                       is safe */
    int64_t        retry_after_ms;  /* the server's grpc-retry-pushback-ms; -1: none, or "do not" */
    bool           metadata_cut;    /* the server sent more than max_metadata_bytes: some was dropped */
    uint32_t       attempts;        /* of a call: how many were made, by its `retry`; else 0 */
} ensign_notice_end_t;

typedef struct ensign_notice_t {
    ensign_notice_type_t type;
    bool           last;            /* the handle's last; it dies at the next pull */
    uint32_t       handle;          /* whom it is about: ENSIGN_CLIENT, or a handle's id */
    void          *user;            /* that handle's */
    const ensign_error_t *error;    /* NULL: none */
    union {                         /* the arm that the type names */
        ensign_notice_connected_t connected;
        ensign_notice_disconnected_t disconnected;
        ensign_notice_waiting_t waiting;
        ensign_notice_open_t open;
        ensign_notice_ack_t ack;
        ensign_notice_nack_t nack;
        ensign_notice_drained_t drained;
        const ensign_event_t *event;
        ensign_notice_gap_t gap;
        const ensign_topic_t *topic;
        ensign_notice_topic_state_t topic_state;
        ensign_notice_exists_t exists;
        const ensign_project_t *project;
        const ensign_topic_info_t *topic_info;
        const ensign_type_info_t *type_info;
        ensign_notice_plan_t plan;
        ensign_notice_status_t status;
        ensign_notice_health_t health;
        ensign_notice_reply_t reply;
        ensign_notice_message_t message;
        ensign_notice_end_t end;
    } as;
} ensign_notice_t;

/* The next notice of any handle that is not held, in turn; NULL: none is pending. */
ENSIGN_API const ensign_notice_t *ensign_next(ensign_t *c);

/* The next notice of one handle, or of ENSIGN_CLIENT, held or not. NULL: none is pending, or no handle. */
ENSIGN_API const ensign_notice_t *ensign_next_of(ensign_t *c, uint32_t handle);

/* Is one pending for this handle, held or not? 0: for any that is not held. */
ENSIGN_API bool ensign_pending(const ensign_t *c, uint32_t handle);

/* Makes ensign_next pass a handle over: its last notice stands, its buffer fills, its sender stops. How to
 * wait for ROOM with an event in hand, and how to pause. False lets it go on. */
ENSIGN_API int  ensign_hold(ensign_t *c, uint32_t handle, bool on);

/* The topics of an OPEN notice, while it stands. which: one of these; *at is 0 at the start; false: no more.
 * The name is empty where a topic was asked for by its id, the id zeros where it is not known. */
enum { ENSIGN_OPEN_TOPICS = 1, ENSIGN_OPEN_MISSING = 2 };
ENSIGN_API bool ensign_open_next(const ensign_t *c, uint32_t handle, int which, size_t *at,
                                 ensign_slice_t *name, ensign_ulid_t *id);

/* >>ending    Close, cancel, forget: the same three for every handle
 *
 * handle: the id of any handle, or ENSIGN_CLIENT for the client and all its handles. A handle whose last
 * notice waits to be pulled has ended already: the first two return OK and change nothing. E_HANDLE: it is
 * dead. */

/* Ends in good order, then END; keep stepping and pulling until then. When timeout_ms is over what is left is
 * reset as by ensign_cancel, but what is here is still given. 0: at the next step; ENSIGN_FOREVER: no limit.
 * A second call restarts the time.
 *     publisher            takes no more events, waits for the answers, half-closes, END
 *     subscription, watch  sends the acks that wait, cancels the stream; what is here is given, then END
 *     query                cancels the stream; the rows that are here are given, then END
 *     streaming call       half-closes, and waits for the server's END
 *     unary call, request  waits for the answer
 *     ENSIGN_CLIENT        all of these; CLOSED follows when every handle has ended, after FAILED too */
ENSIGN_API int  ensign_close(ensign_t *c, uint32_t handle, uint32_t timeout_ms);

/* Resets the stream at once: what a publisher has no answer to is NACKed, what was received and not pulled is
 * dropped, and END (REPLY of a unary call) comes with E_CANCELLED. */
ENSIGN_API int  ensign_cancel(ensign_t *c, uint32_t handle);

/* Resets the stream at once, and no notice comes any more; events in flight stay unanswered. OK on a dead
 * handle. After ENSIGN_CLIENT only ensign_destroy is left to do. */
ENSIGN_API int  ensign_forget(ensign_t *c, uint32_t handle);

/* >>loop      The loop, with sockets
 *
 * A socket that is about to close is listed once with ENSIGN_GONE, still open: take it out of your loop. The
 * next ensign_poll_set closes it; a loop by poll(2), which makes its list anew each time, leaves it out. A
 * new socket has a new serial, though its number may be an old one's. Reads and writes go on until they would
 * block or a budget is spent (then ensign_timeout is 0), so edge-triggered loops work. */
enum { ENSIGN_READ = 1, ENSIGN_WRITE = 2, ENSIGN_HUP = 4, ENSIGN_GONE = 8 };   /* bits of want and ready */
enum { ENSIGN_MAX_FDS = 16 };       /* entries that a poll set has room for */

typedef struct ensign_poll_t {
    intptr_t fd;                    /* a socket */
    uint32_t serial;                /* of this socket; hand it back with the entry */
    int      want;                  /* ENSIGN_READ | ENSIGN_WRITE, or ENSIGN_GONE */
    int      ready;                 /* yours: what is ready; ENSIGN_HUP for an error or a hang-up */
} ensign_poll_t;

/* Milliseconds until a step is due. 0: now, or an unheld notice is pending; -1: no timer runs. Serves the
 * loop without sockets too. */
ENSIGN_API int  ensign_timeout(const ensign_t *c, uint64_t now_ms);

#ifndef ENSIGN_NO_SOCKETS
/* Fills `set`, and returns how many there are. Call it right before each wait. */
ENSIGN_API int  ensign_poll_set(ensign_t *c, ensign_poll_t set[ENSIGN_MAX_FDS]);

/* I/O and timers. Entries whose serial is not one of ours any more are passed over; n may be 0. now_ms: any
 * monotonic clock, the same in every call. E_ARGUMENT: ready is NULL and n is not 0. */
ENSIGN_API int  ensign_step(ensign_t *c, const ensign_poll_t *ready, size_t n, uint64_t now_ms);

/* Polls and steps until an unheld notice is pending (pull all of them by ensign_next, or hold what is not
 * wanted: else it returns at once each time), an entry of `extra` is ready, a signal comes, or the time is
 * up; < 0: no limit. `extra` is yours: up to 48 entries, or NULL with n 0; set fd and want, and read ready,
 * which is cleared first and found out with a notice pending too. Their serial is not looked at. By
 * ensign_now_ms. A link that wants RESOLVE does not end it: under ENSIGN_IO_SOCKETS_NO_DNS give it a short
 * time and ask ensign_link, or make a loop of your own. OK, TIMEOUT, INTERRUPTED, or an error: E_STATE under
 * ENSIGN_IO_CALLER, or where a wait without limit could never end. */
ENSIGN_API int  ensign_wait(ensign_t *c, ensign_poll_t *extra, size_t n, int timeout_ms);

/* Waits for the next notice of one handle, held or not, and pulls it into *n; the others' stay pending. For
 * programs without a loop. A signal does not end it: to stop on one, call ensign_wait, whose result is
 * INTERRUPTED then, or make the signal readable (signalfd, a pipe) and put its descriptor into ensign_wait's
 * `extra`. OK, TIMEOUT (ensign_error tells why nothing came, *n is NULL), E_HANDLE, and errors as of
 * ensign_wait. */
ENSIGN_API int  ensign_await(ensign_t *c, uint32_t handle, int timeout_ms, const ensign_notice_t **n);

ENSIGN_API uint64_t ensign_now_ms(void);    /* the OS's monotonic clock */
#endif

/* >>sansio    The loop, without sockets
 *
 * What a link wants is a state to read, not a notice: read it after each call that takes time or bytes.
 * Buffers stay where they are until your ensign_link_down, which also answers HANGUP; no new DIAL comes
 * before it. An answer with an old attempt is passed over, with OK. E_ARGUMENT: no such link, or more bytes
 * than there are. Serve all links in the same way: after a GOAWAY RPC and RPC_2 run side by side. */
enum { ENSIGN_LINK_RPC, ENSIGN_LINK_AUTH, ENSIGN_LINK_RPC_2, ENSIGN_MAX_LINKS };

typedef enum ensign_link_do_t {
    ENSIGN_LINK_IDLE,               /* nothing */
    ENSIGN_LINK_RESOLVE,            /* find the addresses of `host`: ensign_resolved */
    ENSIGN_LINK_DIAL,               /* connect to one of `addresses`, which stand in the order in which to try
                                       them. Let them race (RFC 8305, section 5): begin with the first, go on
                                       to the next after 250 ms or at a failure, without giving up those that
                                       are under way. Call ensign_link_up for the first one that connects,
                                       and close the others; ensign_link_down once all have failed */
    ENSIGN_LINK_RUN,                /* move bytes both ways; ensign_link_down when that fails */
    ENSIGN_LINK_HANGUP              /* send what is in tx if that is quick, close, ensign_link_down; during a
                                       DIAL: give up all that are under way, ensign_link_down */
} ensign_link_do_t;

typedef struct ensign_link_t {
    ensign_link_do_t todo;
    uint32_t    attempt;            /* hand it back with the answer */
    const char *host;               /* without brackets; stands until the answer. Through a proxy it is the
                                       proxy's, as are `port` and `addresses`: the engine itself asks it by
                                       CONNECT, once the link runs */
    uint16_t    port;               /* 0: `addresses` has one "unix:/path" */
    const char *const *addresses;   /* DIAL: numeric, or that one; stand until the answer */
    size_t      address_count;
    const char *server_name;        /* with `external`: the connection needs your TLS, and the certificate
                                       must have this name. NULL: the bytes go as they are, as those to a
                                       proxy do until it has answered. Where it becomes set in RUN, shake
                                       hands before you move the next bytes */
    const char *alpn;               /* what to offer then: "h2", which the server must take, or of the auth
                                       service "http/1.1", where it may take none */
} ensign_link_t;

/* What this link wants now. */
ENSIGN_API void ensign_link(const ensign_t *c, int link, ensign_link_t *out);

/* Numeric addresses of at most 63 bytes, in the resolver's order. ENSIGN_MAX_ADDRESSES of them are kept, the
 * families taking turns (RFC 8305, section 4), the one that worked last first; a DIAL lists those that have
 * not failed in this round. count 0: the look-up failed, native is its code (getaddrinfo's, or your own). */
ENSIGN_API int  ensign_resolved(ensign_t *c, int link, uint32_t attempt, const char *const *addresses,
                                size_t count, int native);

/* The connection is made, or gone. address: the index in `addresses` that it is made to. The engine tries it
 * first the next time if the connection proves good (SETTINGS or the auth service's answer came); else it
 * goes on to the other addresses. native: errno; 0: the peer's orderly end; where your own TLS has failed
 * ENSIGN_E_TLS, E_CERTIFICATE, E_HOSTNAME or E_ALPN. With `external` the connection can be up before its
 * handshake: connect_timeout_ms counts both. */
ENSIGN_API int  ensign_link_up(ensign_t *c, int link, uint32_t attempt, size_t address, uint64_t now_ms);
ENSIGN_API int  ensign_link_down(ensign_t *c, int link, uint32_t attempt, int native, uint64_t now_ms);

/* Where received bytes go, and how many fit; NULL while the link does not run. 0 of a running link: something
 * in tx must be sent first (an answer of TLS, or CONNECT); send it, then ask again. Then: len bytes were put
 * there. */
ENSIGN_API uint8_t *ensign_rx_buf(ensign_t *c, int link, size_t *cap);
ENSIGN_API int  ensign_rx_ack(ensign_t *c, int link, size_t len, uint64_t now_ms);

/* What is to be sent: the bytes stand until acked, more may join them; NULL and 0: nothing. Then: the first
 * len of them are sent. */
ENSIGN_API const uint8_t *ensign_tx_buf(ensign_t *c, int link, size_t *len);
ENSIGN_API int  ensign_tx_ack(ensign_t *c, int link, size_t len);

/* Timers, and the work that calls have left. When: ensign_timeout, and the `wake` hook. */
ENSIGN_API int  ensign_tick(ensign_t *c, uint64_t now_ms);

/* >>grpc_api  Any method of any server
 *
 * A call waits, its deadline running, for the connection, for a token, and for one of the server's
 * MAX_CONCURRENT_STREAMS, in the order of opening. After the server's headers a call gives no WAITING, and
 * its stream is not opened again when it breaks: it ends with END, and you open a new one. protoc-gen-ensign
 * writes calls with structs in and out, from a .proto (tools/docs/typed-calls.md). */
typedef struct ensign_call_desc_t {
    const char *method;             /* "/package.Service/Method" */
    const ensign_header_t *metadata;/* an "authorization" in it replaces the client's token */
    size_t      metadata_count;     /* up to 128, and 48 KiB in all */
    bool        no_token;           /* [false] send no token of the client's */
    ensign_slice_t request;         /* first message, with `encoding` compressed already; empty: none yet, but
                                       with `unary` an empty one */
    bool        unary;              /* open, send and half-close in one; its one notice is REPLY */
    bool        request_follows;    /* [false] of a unary call: `request` is empty, and ensign_call_send, or
                                       reserve and commit, gives the one message, which half-closes. So it can
                                       be encoded in place */
    uint32_t    deadline_ms;        /* from open to END [that of the client's `methods`, else none],
                                       ENSIGN_FOREVER: none; grpc-timeout carries what is left */
    ensign_retry_t retry;           /* further attempts [those of the client's `methods`, else its `retry`];
                                       while one is waited for a streaming call has WAITING */
    bool        wait_for_ready;     /* [false] the call waits for an attempt to connect that is under way, and
                                       ends, UNAVAILABLE, when every address, or auth, has failed, and during
                                       the backoff. true: it waits, and a streaming call tells so (WAITING) */
    uint32_t    window_bytes;       /* usual size of the receive buffer [64 KiB], 1024..1 GiB */
    uint32_t    send_buffer_bytes;  /* [64 KiB]; one larger message is taken when it is empty */
    uint32_t    max_message_bytes;  /* received, as it comes and decompressed; a larger one: END,
                                       RESOURCE_EXHAUSTED [4 MiB], up to 1 GiB */
    uint32_t    max_send_bytes;     /* sent, before it is compressed; a larger one is E_TOO_LARGE [4 MiB], up
                                       to 1 GiB */
    uint32_t    max_metadata_bytes; /* the most that is kept of received headers, and as much of trailers,
                                       each entry with 32 bytes more (RFC 9113 6.5.2). The rest is dropped,
                                       and metadata_cut tells it; the status stays, and the first 512 bytes of
                                       its text at least [8 KiB], 1..1 GiB */
    bool        compress;           /* [false] compress each message that gets smaller by it, with gzip. A
                                       server that does not take gzip answers UNIMPLEMENTED. E_ARGUMENT
                                       without ENSIGN_GZIP, and where `encoding` is set, too */
    const char *encoding;           /* grpc-encoding of what you compress yourself [identity] */
    const char *accept_encoding;    /* grpc-accept-encoding [that of `encoding`: servers, grpc-go for one,
                                       answer in the request's own]; what comes so is yours to decompress, and
                                       `compressed` says it. Where neither is set and ENSIGN_GZIP is defined,
                                       gzip is asked for, and what comes so is decompressed for you; not so
                                       with "identity". A compressed message that was not agreed on, or one
                                       that cannot be decompressed, ends the call, INTERNAL */
    void       *user;               /* in each notice of the call */
} ensign_call_desc_t;

enum { ENSIGN_HEADERS = 1, ENSIGN_TRAILERS = 2 };   /* `which` of the metadata functions */
enum {                          /* `flags` */
    ENSIGN_COMPRESSED   = 1,    /* the message is in the desc's `encoding` */
    ENSIGN_UNCOMPRESSED = 2     /* `compress` leaves this message as it is: for example one with a secret
                                   beside what a stranger wrote, for its compressed size tells of both */
};

/* Needs no connection. {0}: E_ARGUMENT, E_TOO_LARGE (request), E_LIMIT (max_handles), E_MEMORY, E_STATE (the
 * client is closing, or has failed). */
ENSIGN_API ensign_call_t ensign_call_open(ensign_t *c, const ensign_call_desc_t *d);

/* Copies one message into the send buffer, compressed where the desc says `compress`. AGAIN: it is full, or
 * has no room for the message uncompressed; ENDED: END waits to be pulled; E_STATE: the call is half-closed,
 * closing, or unary and has its request; E_TOO_LARGE: over max_send_bytes. */
ENSIGN_API int  ensign_call_send(ensign_t *c, ensign_call_t call, ensign_slice_t message, int flags);

/* The same in two steps, to encode in place: *out has room for len bytes, and commit says how many it became;
 * that is when they are compressed. Between the two, call no other function that sends on this call. E_STATE:
 * commit without such a reserve. */
ENSIGN_API int  ensign_call_reserve(ensign_t *c, ensign_call_t call, size_t len, uint8_t **out);
ENSIGN_API int  ensign_call_commit(ensign_t *c, ensign_call_t call, size_t len, int flags);

/* No more messages from us. */
ENSIGN_API int  ensign_call_half_close(ensign_t *c, ensign_call_t call);

/* Metadata, while the call's HEADERS, MESSAGE, REPLY or END notice stands: each entry in the order in which
 * it came, "-bin" decoded; *at is 0 at the start, false: no more. And: the first entry of a key, in lower
 * case. */
ENSIGN_API bool ensign_call_metadata_next(const ensign_t *c, ensign_call_t k, int which, size_t *at,
                                          ensign_slice_t *key, ensign_slice_t *value);
ENSIGN_API bool ensign_call_metadata_get(const ensign_t *c, ensign_call_t k, int which, const char *key,
                                         ensign_slice_t *value);

/* The most that one call takes. */
ENSIGN_API size_t ensign_call_memory_bound(const ensign_call_desc_t *d);

#ifndef ENSIGN_NO_SERVICE
/* >>pub_api   Publish
 *
 * Events are taken before there is a connection or the topic is known: the ring keeps them until they are
 * answered. A topic that turns out not to exist is a NACK.
 * A server tells the topics, and fixes which may be published to, when it opens a stream. For a topic that is
 * not among them the publisher asks whether there is one by now (or, with ensure_topic, makes it): if so it
 * waits for the answers that are due, and opens its stream again, under the same handle. Events behind that
 * one wait as long. The last name that was not there is not asked for again within a second. */
typedef struct ensign_publisher_desc_t {
    const char *topic;              /* name (its rule is at >>req_api), up to 512 bytes, or ULID as text, for
                                       events that name none [each names one] */
    bool        ensure_topic;       /* [false] make each topic that is not there, when its first event comes
                                       (not at OPEN); the key needs the permission topics:create */
    bool        at_most_once;       /* [false] after a reconnect NACK with OUTCOME_UNKNOWN what was sent,
                                       instead of sending it again */
    bool        quiet_acks;         /* [false] no ACK notices: NACK, DRAINED and ensign_stats only */
    uint32_t    buffer_bytes;       /* of the ring: accepted, and not yet acked [1 MiB], 1024 or more; one
                                       larger event is taken when it is empty */
    uint32_t    max_event_bytes;    /* largest event as encoded; a larger one is E_TOO_LARGE [4 MiB, the
                                       server's limit], 1024..4 MiB */
    uint32_t    window_bytes;       /* usual size of the receive buffer, for answers [64 KiB], 1024..1 GiB */
    uint32_t    max_reply_bytes;    /* largest answer [1 MiB], 1024..1 GiB; the map of topics comes in one: if
                                       that is larger, END with E_TOO_LARGE */
    uint32_t    max_in_flight;      /* events whose answer is still to come, or to be pulled [8192], 1..16383:
                                       past 16384 the server drops acks in silence */
    uint32_t    ack_timeout_ms;     /* no answer for so long: the stream is reopened, and what is not answered
                                       sent again [60000] */
    void       *user;               /* in each notice of the publisher */
} ensign_publisher_desc_t;

/* Needs no connection; the key needs the permission publisher. {0}: E_ARGUMENT, E_LIMIT, E_MEMORY, E_STATE.
 * ensign_close ends it; so does the server, when it refuses the stream for good: END with an error. To know
 * that each event is stored: publish them with tags of yours, ensign_close, and take notices until the last
 * one; each event has its ACK or NACK before that. */
ENSIGN_API ensign_publisher_t ensign_publisher_open(ensign_t *c, const ensign_publisher_desc_t *d);

/* Encodes the event into the ring. AGAIN: no room, or max_in_flight is reached; ENDED: END waits to be
 * pulled; E_STATE: closing; E_ARGUMENT: no topic, or encryption or compression are not their messages;
 * E_TOO_LARGE: over max_event_bytes as encoded. */
ENSIGN_API int  ensign_publish(ensign_t *c, ensign_publisher_t p, const ensign_event_t *e);

/* DRAINED comes when all is answered, behind the ACK or NACK of each event that was published before, or when
 * the time is up. A second call restarts the time. */
ENSIGN_API int  ensign_publisher_drain(ensign_t *c, ensign_publisher_t p, uint32_t timeout_ms);

#ifndef ENSIGN_NO_SOCKETS
/* Waits until all is answered, for programs without a loop; the publisher stays open. The notices of this
 * publisher that come meanwhile are pulled and dropped: a program that uses tags calls ensign_publisher_drain
 * instead. An END with an error is left to be pulled; one without is left too, unless it waited before the
 * call. OK: all is stored; TIMEOUT; the code of the first NACK; or of END, where the publisher has ended.
 * ensign_error has a copy of that one's error. E_STATE: under ENSIGN_IO_CALLER. */
ENSIGN_API int  ensign_publisher_flush(ensign_t *c, ensign_publisher_t p, uint32_t timeout_ms);
#endif

/* The most that one publisher takes. */
ENSIGN_API size_t ensign_publisher_memory_bound(const ensign_publisher_desc_t *d);

/* >>sub_api   Subscribe */
typedef struct ensign_param_t {     /* a value for a placeholder of a query */
    const char *name;               /* of the placeholder */
    int         type;               /* ENSIGN_PARAM_x */
    union {
        int64_t i;
        double  d;
        bool    b;
        ensign_slice_t bytes;
        const char *s;              /* UTF-8 */
    } as;
} ensign_param_t;

/* Where a subscription begins, besides at an offset. */
enum {
    ENSIGN_FROM_LIVE = 0,           /* with what is published from now on */
    ENSIGN_FROM_START = 1           /* with the first event that there is: offsets count from 1 */
};

/* Which of the topics there are is fixed when the stream opens: of one that is made later events come after a
 * reconnect only.
 *
 * Places: a server that keeps its events as a log gives each one an `offset`, which is its place in the one
 * sequence of its project, and tells where each stream begins. Offsets rise, but may skip, so they count
 * nothing. `epoch` is another one when the log was made anew: offsets of two epochs have nothing to do with
 * each other. Where there are places, a subscription need not miss anything:
 *     resume   After a break the stream goes on behind the last event of each topic that was received,
 *              pulled or not. The client drops an event that comes twice, and gives no GAP. All events of a
 *              topic that was made during the break come.
 *     from     The first stream begins at this offset, in every topic. To go on in another process keep
 *              offset + 1 of the last event that you have dealt with, and its epoch; order holds within each
 *              topic alone, so take the smallest of several topics, or a subscription for each.
 *     group    The server keeps the place: each event goes to one member, and again, to any of them, until
 *              it is acked. Acks that wait, and tokens, outlive a break. With `resume` a break gives no GAP.
 *              `from` counts only where the group is new. A query is the whole group's: its first member
 *              settles it, and the server refuses one that gives another (E_FAILED_PRECONDITION).
 * `from`, and a place to go on from, win over an OFFSET of the query. A GAP tells where that could not be
 * done. The code of its error is that of the break: the server kept places, and keeps none now.
 * E_UNIMPLEMENTED: it did not begin at `from`, as it keeps none. E_DATA_LOSS: its log is of another epoch, or
 * ends before the place that was asked for. An event that is larger than max_event_bytes has its GAP once.
 * Server 0.12 keeps no places; ensignd keeps them, except with --strict.
 *
 * Without places, `resume` has the client ask for what a break left out: it reads each topic by EnSQL, from
 * the last event on that was given, and opens the stream when little is left to read. These events come as
 * all others do, in order within their topic, but without `committed`; acks of them do nothing at such a
 * server. OPEN stands behind them. The first OPEN waits until it is known where each topic ends: that takes
 * one short query for an empty topic, and some 25 for one of 100,000 events. Where there are more than 64
 * topics nothing is asked for at first, and a GAP stands at a break that comes before the first event.
 * A GAP names its topic where these events cannot be had: EnSQL cannot read a name that begins with a
 * keyword, such as `orders`, or that holds a dot (E_UNIMPLEMENTED); the topic was made anew (E_DATA_LOSS); or
 * the server refuses the query, whose error it has. */
typedef struct ensign_subscription_desc_t {
    const char *const *topics;      /* names, or ULIDs as text, 1..512 bytes each */
    size_t      topic_count;        /* 0: all topics of the project */
    bool        ensure_topics;      /* [false] make those that are not there, before the stream opens, and
                                       anew where a server that came back has none of them; the key needs the
                                       permission topics:create */
    const char *query;              /* EnSQL text. It, params and group go to the server, which as of 0.12
                                       uses none of them: every subscriber gets every event of its topics
                                       [none] */
    const ensign_param_t *params;   /* of the query */
    size_t      param_count;
    const char *group;              /* name of a consumer group [none] */
    bool        resume;             /* [false] go on behind the last event after a break, see above */
    uint64_t    from;               /* offset of the first event wanted, in every topic, or
                                       ENSIGN_FROM_START [ENSIGN_FROM_LIVE] */
    uint32_t    window_bytes;       /* usual size of the receive buffer [256 KiB], 1024..1 GiB */
    uint32_t    max_event_bytes;    /* largest event, with all that is around it; a larger one becomes a GAP
                                       with E_TOO_LARGE, a larger map of topics END [5 MiB], 1024..1 GiB */
    uint32_t    max_unacked;        /* delivered events whose token is still good [16384], 1..16777216; who
                                       acks when an onward publish is acked needs more than its
                                       max_in_flight */
    void       *user;               /* in each notice of the subscription */
} ensign_subscription_desc_t;

/* Needs no connection; the key needs the permission subscriber. After a loss the stream is back within
 * backoff_max_ms of the server's return; what is published before that is missed, unless it can resume. {0}:
 * E_ARGUMENT, E_TOO_LARGE (topics, query, params, group: about 4 MiB together; with `from` the topics count
 * twice), E_LIMIT, E_MEMORY, E_STATE. ensign_close ends it; so does the server, when it refuses the stream
 * for good: END with an error. */
ENSIGN_API ensign_subscription_t ensign_subscription_open(ensign_t *c, const ensign_subscription_desc_t *d);

/* Tells the server that an event was handled, or why not (ENSIGN_NACK_x from 100 on). Never AGAIN: they go
 * out in batches, and one that max_unacked events have overtaken unsent is dropped; server 0.12 uses none.
 * E_STALE: max_unacked events came since, or the token is of an earlier stream. With `group` tokens stay
 * good, and what waits goes out on the next stream: the server counts an ack from any stream of the group. */
ENSIGN_API int  ensign_ack(ensign_t *c, ensign_subscription_t s, uint64_t token);
ENSIGN_API int  ensign_nack(ensign_t *c, ensign_subscription_t s, uint64_t token, int code);

/* The most that one subscription takes. */
ENSIGN_API size_t ensign_subscription_memory_bound(const ensign_subscription_desc_t *d);

/* >>query_api Query: stored events, by EnSQL
 *
 * As of server 0.12 a query is "SELECT * FROM topic [OFFSET n] [LIMIT n]" with a topic's name: WHERE, a list
 * of fields and params are read and not applied, and a row is a whole event. The development server, ensignd,
 * applies them: its --help tells how. */
typedef struct ensign_query_desc_t {
    const char *sql;                /* 1 byte or more; the server reads it */
    const ensign_param_t *params;   /* for its placeholders */
    size_t      param_count;
    bool        include_duplicates; /* [false] leave out what the topic's policy has marked as a duplicate */
    uint32_t    window_bytes;       /* usual size of the receive buffer [256 KiB], 1024..1 GiB */
    uint32_t    max_event_bytes;    /* largest row; a larger one: END with E_TOO_LARGE [5 MiB], 1024..1 GiB */
    uint32_t    timeout_ms;         /* of all of it, the time of reading rows too: then END with
                                       E_DEADLINE_EXCEEDED, and rows that were not pulled are gone [none]. A
                                       query has no other limit: its first row may honestly take long;
                                       keepalive_ms, when you set it, tells a slow server from a dead one */
    void       *user;               /* in each notice of the query */
} ensign_query_desc_t;

/* The key needs the permission subscriber, or topics:read. EVENT for each row in the order of commit, then
 * END, whose `count` is their number: without an error, no row at all is an answer. E_INVALID_ARGUMENT:
 * syntax, or an unknown topic; as.end.text has the server's words. A row that cannot be read is a GAP. The
 * cursor is the handle: rows come as they are pulled, what is not pulled stays at the server when
 * window_bytes are full; ensign_hold pauses it, ensign_close ends it. A row has no token and cannot be acked.
 * It is sent once, and never again by itself: END with the status UNAVAILABLE when the connection is lost.
 * {0}: E_ARGUMENT, E_TOO_LARGE (over 4 MiB as encoded), E_LIMIT, E_MEMORY, E_STATE. */
ENSIGN_API ensign_query_t ensign_query_open(ensign_t *c, const ensign_query_desc_t *d);

/* The most that one query takes. */
ENSIGN_API size_t ensign_query_memory_bound(const ensign_query_desc_t *d);

/* >>req_api   Topics, status: the answer is a notice
 *
 * Each opens a request, {0} on an error (E_ARGUMENT, E_LIMIT, E_MEMORY, E_STATE). The answer has `last`, or
 * END follows many of them; END with an error comes instead of it. request_timeout_ms is for all of a
 * request, however many calls it takes (a list: for each page).
 * The server has not answered when the connection is lost, when the stream is refused unseen (REFUSED_STREAM,
 * a GOAWAY), or when a proxy says 429, 502, 503 or 504. Then a request that only reads, and
 * ensign_topic_ensure, are sent again, after a backoff, until request_timeout_ms or give_up_after_ms is over.
 * Those that change something (ensign_topic_create, ..._archive, ..._destroy, ..._set_dedup,
 * ..._set_sharding) are sent again only where the server surely did not act; else END has UNAVAILABLE, and
 * what they should do may be done. ensign_auth_status is asked once. What the server answers, an error too,
 * is the answer.
 * name: a letter, then letters, digits, . - _, 1..512 bytes. user: in each notice of the request.
 * What the key may do: topics:read for those that look, topics:create, topics:edit (policies), topics:destroy
 * (archive too), metrics:read beside topics:read for ensign_info; E_PERMISSION_DENIED says that it may
 * not. */
typedef struct ensign_dedup_t {     /* which events of a topic count as duplicates */
    int         strategy;           /* ENSIGN_DEDUP_x */
    int         offset;             /* ENSIGN_DEDUP_OFFSET_x */
    const char *const *keys;        /* metadata keys, for KEY_GROUPED and UNIQUE_KEY */
    size_t      key_count;
    const char *const *fields;      /* of the data, for UNIQUE_FIELD */
    size_t      field_count;
    bool        overwrite_duplicate;/* [false] keep of a duplicate only that it came */
} ensign_dedup_t;

/* TOPIC, or END with E_ALREADY_EXISTS and the like. dedup may be NULL; the server records a policy that is
 * given here, but never runs it. E_TOO_LARGE: its keys and fields take over 4 MiB less 1 KiB. */
ENSIGN_API ensign_request_t ensign_topic_create(ensign_t *c, const char *name, const ensign_dedup_t *dedup,
                                                void *user);

/* TOPIC: the one that is there, or the one made. */
ENSIGN_API ensign_request_t ensign_topic_ensure(ensign_t *c, const char *name, void *user);

/* EXISTS: is there a topic of this name, or of this id (NULL: not asked), in the project? Given both, server
 * 0.12 looks for each by itself: they need not belong together. */
ENSIGN_API ensign_request_t ensign_topic_exists(ensign_t *c, const char *name, const ensign_ulid_t *id,
                                                void *user);

/* TOPIC, or END with E_NOT_FOUND: looked for by its name, or by its id. */
ENSIGN_API ensign_request_t ensign_topic_by_name(ensign_t *c, const char *name, void *user);
ENSIGN_API ensign_request_t ensign_topic_by_id(ensign_t *c, ensign_ulid_t id, void *user);

/* TOPIC for each of the project's, in order of id, then END. Reads page after page by itself. */
ENSIGN_API ensign_request_t ensign_topic_list(ensign_t *c, void *user);

/* The same with id, project_id and name alone, in no order. Server 0.12 gives a hash for each name: `name` is
 * the name where the topic cache has it and the hash agrees, else empty; ensign_topic_list has all names. */
ENSIGN_API ensign_request_t ensign_topic_names(ensign_t *c, void *user);

/* TOPIC_STATE: READONLY. There is no way back. Server 0.12 marks the topic, and still takes events for it. */
ENSIGN_API ensign_request_t ensign_topic_archive(ensign_t *c, ensign_ulid_t id, void *user);

/* TOPIC_STATE: DELETING; a job of the server removes the topic and all its events some time later, and its
 * name is taken until then. */
ENSIGN_API ensign_request_t ensign_topic_destroy(ensign_t *c, ensign_ulid_t id, void *user);

/* TOPIC_STATE: PENDING, until a job has gone through what is stored; READY: there was nothing to do. Server
 * 0.12 finds duplicates in this way alone, among the events that were stored before; it does not look at
 * overwrite_duplicate when it compares policies, UNIQUE_FIELD leaves the topic PENDING for good, and so may a
 * second strategy after STRICT, or after overwrite_duplicate. END with
 * E_FAILED_PRECONDITION: the topic is archived, or PENDING. */
ENSIGN_API ensign_request_t ensign_topic_set_dedup(ensign_t *c, ensign_ulid_t id, const ensign_dedup_t *dedup,
                                                   void *user);

/* TOPIC_STATE. strategy: ENSIGN_SHARDING_x. Server 0.12 knows none of it: END with E_UNIMPLEMENTED. */
ENSIGN_API ensign_request_t ensign_topic_set_sharding(ensign_t *c, ensign_ulid_t id, int strategy,
                                                      void *user);

/* PROJECT with the sums, then for each topic TOPIC_INFO and behind it a TYPE_INFO for each of its types, then
 * END, whose `count` is the number of topics. count 0: all topics; ids that are not the project's are passed
 * over. The server counts about every 75 s; a topic that it has not counted has zeros. */
ENSIGN_API ensign_request_t ensign_info(ensign_t *c, const ensign_ulid_t *topics, size_t count, void *user);

/* PLAN: what the server would do with a query. Server 0.12: END with E_UNIMPLEMENTED. Of the desc sql,
 * params, param_count, include_duplicates and user count. */
ENSIGN_API ensign_request_t ensign_explain(ensign_t *c, const ensign_query_desc_t *d);

/* STATUS of the server; sends no token. */
ENSIGN_API ensign_request_t ensign_status(ensign_t *c, void *user);

/* HEALTH of a service of this server by grpc.health.v1, with no token; service NULL or "": of the server as a
 * whole. (0.12 knows "" and "default"; of another name a check says UNKNOWN, a watch SERVICE_UNKNOWN.) watch:
 * HEALTH whenever the server tells it, until ensign_close; the stream is opened again when it breaks, and
 * HEALTH told again then. END with E_UNIMPLEMENTED: the server has no such service. */
ENSIGN_API ensign_request_t ensign_health(ensign_t *c, const char *service, bool watch, void *user);

/* STATUS of the auth service, by GET /v1/status; sends no key. E_STATE: the desc has neither a client_id nor
 * an auth_url. END with E_AUTH: it answers something else. */
ENSIGN_API ensign_request_t ensign_auth_status(ensign_t *c, void *user);

/* The most that one request takes, whichever it is. */
ENSIGN_API size_t ensign_request_memory_bound(const ensign_desc_t *d);
#endif /* ENSIGN_NO_SERVICE */

/* >>helpers   Pure functions, and statistics */

/* 26 characters of Crockford's base 32, any case, the first 0..7. E_FORMAT: another length or character. */
ENSIGN_API int  ensign_ulid_parse(ensign_slice_t text, ensign_ulid_t *out);
/* Upper case and a NUL, as the service writes it. */
ENSIGN_API void ensign_ulid_text(ensign_ulid_t id, char out[27]);
/* 16 characters of the same alphabet, any case. E_FORMAT: another length or character. */
ENSIGN_API int  ensign_rlid_parse(ensign_slice_t text, ensign_rlid_t *out);
/* Lower case and a NUL, as the service writes it. */
ENSIGN_API void ensign_rlid_text(ensign_rlid_t id, char out[17]);

#ifndef ENSIGN_NO_SERVICE
/* ENSIGN_MIME_x for a MIME type as text, as the other Ensign clients match it: case and outer blanks do not
 * count, parameters are dropped ("application/json; charset=utf-8": JSON, with a blank after each ';'), a
 * suffix stands for its type ("application/vnd.me.v1+xml": XML), text and application stand in for each other
 * ("text/json": JSON). E_FORMAT: no match; *out is then a number that still works, TEXT_PLAIN for text/...,
 * else APPLICATION_OCTET_STREAM. */
ENSIGN_API int  ensign_mime_parse(ensign_slice_t text, int32_t *out);
/* "application/json". Static; never NULL: a number that is not listed above gives "unknown". */
ENSIGN_API const char *ensign_mime_name(int32_t mime);

/* A schema for ensign_event_t.type, from its name and a semantic version 2.0.0: "1.2.3", also "v1.2.3",
 * "1.2.3-rc.1+build" (only the three numbers travel). out->name points at `name`: keep it until publish.
 * E_FORMAT: an empty name, not such a version, or a number over 4294967295. */
ENSIGN_API int  ensign_type_parse(const char *name, const char *semver, ensign_type_t *out);

/* Walks the pairs of e->metadata in the order in which they came (a key can come twice: the last one counts).
 * *at is 0 at the start. False: no more, or what follows is malformed. Slices point into the event. */
ENSIGN_API bool ensign_metadata_next(const ensign_event_t *e, size_t *at, ensign_slice_t *key,
                                     ensign_slice_t *value);
/* Finds the value of a key in e->metadata. Returns false, and leaves *value alone, when the key is absent. */
ENSIGN_API bool ensign_metadata_get(const ensign_event_t *e, const char *key, ensign_slice_t *value);

/* "Shipment v1.2.0"; "": no type. As snprintf, see ensign_event_text. */
ENSIGN_API int  ensign_type_text(const ensign_type_t *t, char *out, size_t cap);

/* Walk the lists of a topic's record: the keys and the fields of its deduplication, and its types. *at is
 * 0 at the start; false: no more. Slices point into the record. */
ENSIGN_API bool ensign_topic_key_next(const ensign_topic_t *t, size_t *at, ensign_slice_t *key);
ENSIGN_API bool ensign_topic_field_next(const ensign_topic_t *t, size_t *at, ensign_slice_t *field);
ENSIGN_API bool ensign_topic_type_next(const ensign_topic_t *t, size_t *at, ensign_type_t *type);

/* Copies an event, with all that it points at, into one block to keep: *out is buf, which must be aligned as
 * malloc's, and not be moved. *size: of buf in, what is used out. E_TOO_LARGE: it does not fit, *size is what
 * is needed; buf and out may be NULL to ask for that. `topic` and `pairs` are copied too; `token` loses its
 * meaning with its stream. */
ENSIGN_API int  ensign_event_copy(const ensign_event_t *e, void *buf, size_t *size, ensign_event_t **out);

/* An event in lines, as PyEnsign prints one: "Event:", then a tab, a name and a value on each line: id (RLID
 * text), data (a bytes literal; over 100 characters: cut there, and "..."), mimetype, schema (name and
 * version), meta, state, created, committed (UTC; microseconds if any; "None": absent). No id, type or
 * metadata: no such line. Control characters are escaped, so the text is safe for a terminal. No newline at
 * the end. As snprintf: returns the length of the whole text without NUL; at most cap - 1 bytes of it and a
 * NUL are written; cap 0 writes nothing. E_ARGUMENT: e is NULL. */
ENSIGN_API int  ensign_event_text(const ensign_event_t *e, char *out, size_t cap);

/* Names of numbers: "READY" for ENSIGN_TOPIC_READY with ENSIGN_NAMES_TOPIC, and so on; static, never NULL:
 * other numbers give "UNKNOWN". And back, in any case, '-' and ' ' for '_', E_FORMAT: no such name. */
enum {
    ENSIGN_NAMES_TOPIC,             /* ENSIGN_TOPIC_x */
    ENSIGN_NAMES_SERVICE,           /* ENSIGN_SERVICE_x */
    ENSIGN_NAMES_DEDUP,             /* ENSIGN_DEDUP_x */
    /* ENSIGN_DEDUP_OFFSET_x: "EARLIEST", and "OFFSET_EARLIEST" on the way back */
    ENSIGN_NAMES_DEDUP_OFFSET,
    ENSIGN_NAMES_SHARDING,          /* ENSIGN_SHARDING_x: "NO_SHARDING", and "NONE" on the way back */
    ENSIGN_NAMES_HEALTH,            /* ENSIGN_HEALTH_x */
    ENSIGN_NAMES
};
ENSIGN_API const char *ensign_enum_name(int names, int number);
ENSIGN_API int  ensign_enum_parse(int names, ensign_slice_t text, int *number);

/* "TOPIC_UNKNOWN" for ENSIGN_NACK_TOPIC_UNKNOWN. Static; never NULL: other numbers give "UNKNOWN_CODE". */
ENSIGN_API const char *ensign_nack_name(int code);
#endif /* ENSIGN_NO_SERVICE */

/* The bytes of a string, without its NUL. NULL: empty. And a slice of any bytes. */
ENSIGN_API ensign_slice_t ensign_str(const char *s);
ENSIGN_API ensign_slice_t ensign_bytes(const void *ptr, size_t len);

/* "ENSIGN_NOTICE_ACK" for ENSIGN_NOTICE_ACK. Static; never NULL: other numbers give "?". */
ENSIGN_API const char *ensign_notice_name(ensign_notice_type_t type);

/* "ENSIGN_E_TLS" for ENSIGN_E_TLS; and what the list of results says of it. Static; never NULL: other numbers
 * give "?" and "unknown result". */
ENSIGN_API const char *ensign_result_name(int code);
ENSIGN_API const char *ensign_result_text(int code);

typedef struct ensign_stats_t {
    uint64_t published;             /* events accepted; of a publisher, or of all */
    uint64_t acked, nacked;         /* of them; of a subscription: by your ensign_ack and ensign_nack */
    uint64_t resent;                /* events sent again after a reconnect */
    uint64_t received;              /* events; messages of a call */
    uint64_t bytes_in, bytes_out;   /* on the links, TLS included; ENSIGN_CLIENT only */
    uint64_t reconnects;            /* connections after the first; streams after the first, of a handle */
    uint64_t tokens;                /* access tokens got; ENSIGN_CLIENT only */
    uint64_t allocations;           /* calls of `alloc` so far; ENSIGN_CLIENT only */
    uint32_t in_flight;             /* events accepted, and not yet answered */
    size_t   memory;                /* bytes held through `alloc`; ENSIGN_CLIENT only */
} ensign_stats_t;

/* Of ENSIGN_CLIENT, or of a handle until it dies. E_HANDLE: it is dead; ensign_error is left alone. */
ENSIGN_API int  ensign_stats(const ensign_t *c, uint32_t handle, ensign_stats_t *out);

typedef struct ensign_link_info_t { /* a connection, as it is now */
    const char *endpoint;           /* "host:port" or "unix:/path", of those in the desc */
    const char *address;            /* of the endpoint, or of the proxy, that it is made to; NULL:
                                       ensign_link_up did not tell */
    const char *proxy;              /* "host:port" that it goes through; NULL: none */
    const char *tls_version;        /* "TLSv1.2"; NULL: plaintext, or no handshake yet; so are the next two */
    const char *cipher;             /* "TLS-ECDHE-RSA-WITH-CHACHA20-POLY1305-SHA256" */
    const char *alpn;               /* "h2"; NULL: nothing was agreed on, as with the auth service */
    bool        resumed;            /* its handshake was a short one, by a ticket of a connection before */
    bool        external;           /* its TLS is yours, so those four are not known here: NULL, and false */
    int32_t     ping_ms;            /* round trip of the last PING that was answered; -1 before the first */
    uint64_t    age_ms;             /* from when it was made to the last step */
} ensign_link_info_t;

/* Describes the connection of a link, ENSIGN_LINK_x. The strings are valid until the client steps, or is
 * given bytes, again. It returns E_STATE while the link has no connection, and E_ARGUMENT for a number that
 * is not an ENSIGN_LINK_x. Then it zeroes *out, sets ping_ms to -1, and leaves ensign_error alone. Where both
 * RPC and RPC_2 run, the younger one takes the new calls. */
ENSIGN_API int  ensign_link_info(const ensign_t *c, int link, ensign_link_info_t *out);

/* "HEADERS" for ENSIGN_FRAME_HEADERS. Static; never NULL: other numbers give "?". */
ENSIGN_API const char *ensign_frame_name(int type);

/* A frame in one line, for a trace hook to print: "> rpc HEADERS stream=1 flags=END_HEADERS length=98 :method
 * :path", "< rpc RST_STREAM stream=1 flags=0 length=4 CANCEL"; '>' is out, '<' in. As snprintf, see
 * ensign_event_text. */
ENSIGN_API int  ensign_frame_text(const ensign_frame_t *frame, char *out, size_t cap);

#ifdef __cplusplus
}
#endif
#endif /* ENSIGN_H */

#ifdef ENSIGN_IMPLEMENTATION
#ifndef ENSIGN_IMPLEMENTED
#define ENSIGN_IMPLEMENTED

/* >>util   may call:
 *          open to: all
 * Small things: bytes, slices, errors, timers, random numbers
 *
 * Pure functions and two small structs: ensi_buf_t, where bytes [start, end) wait and [end, cap) is room, and
 * ensi_timer_t, whose duration starts at the first tick that sees it (rule Time of the manual). */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(ENSIGN_MALLOC) != defined(ENSIGN_REALLOC) || defined(ENSIGN_MALLOC) != defined(ENSIGN_FREE)
#error "ensign.h: define all of ENSIGN_MALLOC, ENSIGN_REALLOC and ENSIGN_FREE, or none of them"
#endif
#ifndef ENSIGN_MALLOC
#define ENSIGN_MALLOC(n) malloc(n)
#define ENSIGN_REALLOC(p, n) realloc(p, n)
#define ENSIGN_FREE(p) free(p)
#endif
#ifndef ENSIGN_ASSERT
#include <assert.h>
#define ENSIGN_ASSERT(x) assert(x)
#endif

#define ENSI_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#if defined(__GNUC__)
/* a helper that some configuration of the macros leaves without a caller */
#define ENSI_UNUSED __attribute__((unused))
#define ENSI_PRINTF(at, args) __attribute__((format(printf, at, args)))
#else
#define ENSI_UNUSED
#define ENSI_PRINTF(at, args)
#endif

/* The compiler drops the code that these guard, where the program leaves it out. */
#ifdef ENSIGN_NO_AUTH
enum { ENSI_HAS_AUTH = 0 };
#else
enum { ENSI_HAS_AUTH = 1 };
#endif
#ifdef ENSIGN_NO_PROXY
enum { ENSI_HAS_PROXY = 0 };
#else
enum { ENSI_HAS_PROXY = 1 };
#endif
#ifdef ENSIGN_GZIP
enum { ENSI_HAS_GZIP = 1 };
#else
enum { ENSI_HAS_GZIP = 0 };
#endif

typedef struct ensi_buf_t { uint8_t *ptr; size_t cap, start, end; } ensi_buf_t;

static uint32_t ensi_or(uint32_t value, uint32_t fallback)
{
    return value ? value : fallback;
}

static ENSI_UNUSED size_t ensi_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static ENSI_UNUSED size_t ensi_max(size_t a, size_t b)
{
    return a > b ? a : b;
}

static ensign_slice_t ensi_slice(const void *p, size_t n)
{
    ensign_slice_t s;
    s.ptr = (const uint8_t *)p;
    s.len = n;
    return s;
}

ensign_slice_t ensign_str(const char *s)
{
    return s ? ensi_slice(s, strlen(s)) : ensi_slice("", 0);
}

ensign_slice_t ensign_bytes(const void *ptr, size_t len)
{
    return ensi_slice(ptr, len);
}

/* The mask of a ring with room for `count` places, 1 or more: it has 2^n of them, so that no division finds a
 * place. */
static ENSI_UNUSED uint32_t ensi_ring_mask(uint32_t count)
{
    uint32_t mask = count - 1;
    for (uint32_t by = 1; by < 32; by *= 2) mask |= mask >> by;
    return mask;
}

static ENSI_UNUSED bool ensi_slice_eq(ensign_slice_t a, ensign_slice_t b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static ENSI_UNUSED bool ensi_slice_is(ensign_slice_t a, const char *text)
{
    return ensi_slice_eq(a, ensi_slice(text, strlen(text)));
}

/* printf's precision is an int; names and values shown in texts are cut anyhow. */
static ENSI_UNUSED int ensi_slice_show(ensign_slice_t s)
{
    return (int)ensi_min(s.len, 120);
}

/* The beginning of a peer's words as a string: a NUL in them is a blank, and no character of UTF-8 is cut in
 * two. */
static ENSI_UNUSED void ensi_slice_words(ensign_slice_t s, char *out, size_t cap)
{
    size_t n = ensi_min(s.len, cap - 1);
    while (n > 0 && n < s.len && (s.ptr[n] & 0xC0) == 0x80) n--;
    for (size_t i = 0; i < n; i++) out[i] = s.ptr[i] ? (char)s.ptr[i] : ' ';
    out[n] = '\0';
}

/* Does it begin or end with a blank? No value of a header may (RFC 9113, 8.2.1). */
static ENSI_UNUSED bool ensi_slice_has_edge(ensign_slice_t s)
{
    return s.len > 0 && (s.ptr[0] == ' ' || s.ptr[s.len - 1] == ' ');
}

/* Of ASCII only: no locale has a say in protocols. */
static char ensi_lower(uint8_t c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

/* Is it this word, in any case? */
static ENSI_UNUSED bool ensi_slice_is_word(ensign_slice_t s, const char *lower)
{
    for (size_t i = 0; i < s.len; i++)
        if (lower[i] == '\0' || ensi_lower(s.ptr[i]) != lower[i]) return false;
    return lower[s.len] == '\0';
}

/* Without the blanks and tabs at its ends. */
static ENSI_UNUSED ensign_slice_t ensi_slice_trim(ensign_slice_t s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) s = ensi_slice(s.ptr + 1, s.len - 1);
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t')) s.len--;
    return s;
}

/* Returns the value of a hex digit, or -1 for another character. */
static int ensi_hex(uint8_t c)
{
    char l = ensi_lower(c);
    if (c >= '0' && c <= '9') return c - '0';
    return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

/* Returns the end of a dotted quad at s, or NULL. */
static const char *ensi_ip4(const char *s, uint8_t *out)
{
    for (size_t i = 0; i < 4; i++) {
        unsigned value = 0, digits = 0;
        if (i > 0 && *s++ != '.') return NULL;
        for (; *s >= '0' && *s <= '9' && digits < 3; digits++) value = value * 10 + (unsigned)(*s++ - '0');
        if (digits == 0 || value > UINT8_MAX) return NULL;
        out[i] = (uint8_t)value;
    }
    return s;
}

/* Reads up to four hexadecimal digits at s, and returns where they end. */
static const char *ensi_hex16(const char *s, unsigned *value)
{
    const char *start = s;

    for (*value = 0; s - start < 4 && ensi_hex((uint8_t)*s) >= 0; s++)
        *value = *value << 4 | (unsigned)ensi_hex((uint8_t)*s);
    return s;
}

/* RFC 4291, 2.2: groups, one "::", perhaps a dotted quad at the end. */
static bool ensi_ip6(const char *s, uint8_t *out)
{
    enum { BYTES = 16, NONE = 17 };
    size_t at = 0, gap = NONE;

    if (s[0] == ':' && s[1] == ':') {
        gap = 0;
        s += 2;
    }
    while (*s) {
        unsigned group;
        const char *end = ensi_hex16(s, &group);
        if (*end == '.' && at + 4 <= BYTES) {
            s = ensi_ip4(s, out + at);
            at += 4;
            if (!s || *s) return false;
            break;
        }
        if (end == s || at + 2 > BYTES) return false;
        out[at++] = (uint8_t)(group >> 8);
        out[at++] = (uint8_t)(group & 0xFF);
        s = end;
        if (!*s) break;
        if (*s++ != ':' || !*s) return false;
        if (*s != ':') continue;
        if (gap != NONE) return false;
        gap = at;
        s++;
    }
    if (gap == NONE) return at == BYTES;
    if (at + 2 > BYTES) return false;
    memmove(out + BYTES - (at - gap), out + gap, at - gap);
    memset(out + gap, 0, BYTES - at);
    return true;
}

/* Returns how many bytes the address has: 4, 16, or 0 for a name. */
static size_t ensi_ip(const char *text, uint8_t out[16])
{
    const char *end = ensi_ip4(text, out);

    if (end && !*end) return 4;
    return ensi_ip6(text, out) ? 16 : 0;
}

/* Numbers of HTTP/2 and gRPC are big-endian. A compiler turns four loads of bytes into one, but not always as
 * many stores. */
#if defined(__GNUC__) && defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
static ENSI_UNUSED void ensi_put_be32(uint8_t *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, sizeof v);
}

static ENSI_UNUSED void ensi_put_be64(uint8_t *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, sizeof v);
}
#else
static ENSI_UNUSED void ensi_put_be32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static ENSI_UNUSED void ensi_put_be64(uint8_t *p, uint64_t v)
{
    ensi_put_be32(p, (uint32_t)(v >> 32));
    ensi_put_be32(p + 4, (uint32_t)v);
}
#endif

static ENSI_UNUSED uint32_t ensi_get_be32(const uint8_t *p)
{
    return ((uint32_t)p[0] << 24) | ((uint32_t)p[1] << 16) | ((uint32_t)p[2] << 8) | p[3];
}

static ENSI_UNUSED uint64_t ensi_get_be64(const uint8_t *p)
{
    return ((uint64_t)ensi_get_be32(p) << 32) | ensi_get_be32(p + 4);
}

/* Returns the length of the UTF-8 character at p, or 0 if the bytes are not one. Overlong forms, surrogates
 * and numbers above U+10FFFF are not characters (RFC 3629, section 4). */
static ENSI_UNUSED size_t ensi_utf8_size(const uint8_t *p, const uint8_t *end)
{
    size_t size = p[0] < 0x80 ? 1 : p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF5 ? 4 : 0;

    if (size == 0 || size > (size_t)(end - p)) return 0;
    for (size_t i = 1; i < size; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;
    if (p[0] == 0xE0 && p[1] < 0xA0) return 0;
    if (p[0] == 0xED && p[1] > 0x9F) return 0;
    if (p[0] == 0xF0 && p[1] < 0x90) return 0;
    if (p[0] == 0xF4 && p[1] > 0x8F) return 0;
    return size;
}

static ENSI_UNUSED bool ensi_is_utf8(ensign_slice_t text)
{
    size_t size;
    for (size_t i = 0; i < text.len; i += size) {
        size = ensi_utf8_size(text.ptr + i, text.ptr + text.len);
        if (size == 0) return false;
    }
    return true;
}

/* Overwrites what a compiler may not leave out because nobody reads it afterwards. */
static ENSI_UNUSED void ensi_wipe(void *p, size_t n)
{
    volatile uint8_t *at = (volatile uint8_t *)p;
    while (n-- > 0) *at++ = 0;
}

/* Returns how many bytes of `text` from its beginning on are those of the secret. */
static size_t ensi_hide_match(const char *text, size_t len, ensign_slice_t secret)
{
    size_t n = 0, most = ensi_min(len, secret.len);
    while (n < most && text[n] == (char)secret.ptr[n]) n++;
    return n;
}

/* Puts "***" where `text` has one of the secrets, or eight bytes or more of its beginning: a server that
 * tells it may have been cut short. All secrets are looked for at once: those of one issuer begin alike.
 * Returns the new length, which is never greater. A secret under eight bytes is not looked for: it could be
 * any word. */
static size_t ensi_hide(char *text, size_t len, const ensign_slice_t *secrets, size_t count)
{
    enum { LEAST = 8, STARS = 3 };
    size_t to = 0, hidden = 0; /* what stands before `hidden` is of a secret */
    for (size_t i = 0; i < len; i++) {
        for (size_t k = 0; k < count; k++) {
            size_t same = ensi_hide_match(text + i, len - i, secrets[k]);
            if (secrets[k].len >= LEAST && same >= LEAST && i + same > hidden) hidden = i + same;
        }
        if (i >= hidden) {
            text[to++] = text[i];
        } else if (i + 1 == hidden) { /* its last byte: the stars fit where it stood */
            memset(text + to, '*', STARS);
            to += STARS;
        }
    }
    if (to < len) memset(text + to, 0, len - to); /* no end of the secret stays behind the text */
    return to;
}

static uint64_t ensi_rng_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u); /* splitmix64: any seed will do, 0 too */
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* ---- texts */

/* Where a text is written. `cap` is the room without that for the NUL; `len` counts what was put, also what
 * found no room. */
typedef struct ensi_text_t { char *out; size_t cap, len; } ensi_text_t;

static void ensi_text_begin(ensi_text_t *t, char *out, size_t cap)
{
    t->out = out;
    t->cap = cap > 0 ? cap - 1 : 0;
    t->len = 0;
}

static void ensi_text_put(ensi_text_t *t, const void *p, size_t n)
{
    if (t->len < t->cap) memcpy(t->out + t->len, p, ensi_min(n, t->cap - t->len));
    t->len += n;
}

static ENSI_UNUSED void ensi_text_puts(ensi_text_t *t, const char *s)
{
    ensi_text_put(t, s, strlen(s));
}

/* Writes the NUL; `cap` is that of ensi_text_begin. Returns the length of the whole text, as snprintf. */
static int ensi_text_end(const ensi_text_t *t, size_t cap)
{
    if (cap > 0) t->out[ensi_min(t->len, t->cap)] = '\0';
    return t->len < INT32_MAX ? (int)t->len : INT32_MAX;
}

/* Puts `width` characters or more, with zeros before the digits. `kind` is that of a format; d is signed. */
static void ensi_text_number(ensi_text_t *t, uint64_t value, char kind, size_t width)
{
    enum { WIDTH_MAX = 22 };
    const char *digits = kind == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    unsigned base = kind == 'x' || kind == 'X' ? 16 : 10;
    bool minus = kind == 'd' && (int64_t)value < 0;
    char text[WIDTH_MAX];
    size_t at = sizeof text, from = sizeof text - ensi_min(width, sizeof text) + (minus ? 1 : 0);
    if (minus) value = 0 - value;
    for (; value > 0 || at == sizeof text; value /= base) text[--at] = digits[value % base];
    while (at > from) text[--at] = '0';
    if (minus) text[--at] = '-';
    ensi_text_put(t, text + at, sizeof text - at);
}

/* Reads the digits at *p, and goes behind them. */
static size_t ensi_text_digits(const char **p)
{
    size_t n = 0;
    for (; **p >= '0' && **p <= '9'; ++*p) n = n * 10 + (size_t)(**p - '0');
    return n;
}

/* The next argument of a number's conversion. */
#define ENSI_TEXT_ARG(args, is_long, type) ((is_long) ? va_arg(args, type long) : va_arg(args, type int))

/* Writes as vsnprintf does, by the conversions that this file uses: %s %c %d %u %x %X %%, with `l`, with a
 * precision of %s (%.60s, %.*s), and with a width of zeros (%02d). The C library has floating point, wide
 * characters and stdio with it: 13 KB of a small static program. */
static void ensi_text_format_v(ensi_text_t *t, const char *format, va_list args)
{
    for (;;) {
        size_t plain = strcspn(format, "%"), width, most = SIZE_MAX, n = 0;
        const char *s;
        bool is_long;
        char c;
        ensi_text_put(t, format, plain);
        format += plain;
        if (*format++ == '\0') return;
        width = ensi_text_digits(&format);
        if (*format == '.' && *++format != '*') most = ensi_text_digits(&format);
        if (*format == '*') format++, most = (size_t)va_arg(args, int);
        is_long = *format == 'l';
        if (is_long) format++;
        switch (c = *format++) {
        case 's':
            s = va_arg(args, const char *);
            if (!s) s = "(null)";
            while (n < most && s[n]) n++;
            ensi_text_put(t, s, n);
            break;
        case 'd': ensi_text_number(t, (uint64_t)ENSI_TEXT_ARG(args, is_long, signed), c, width); break;
        case 'u':
        case 'x':
        case 'X': ensi_text_number(t, ENSI_TEXT_ARG(args, is_long, unsigned), c, width); break;
        case 'c': c = (char)va_arg(args, int); ensi_text_put(t, &c, 1); break;
        default: ENSIGN_ASSERT(c == '%'); ensi_text_put(t, &c, 1); break;
        }
    }
}

static ENSI_UNUSED void ensi_text_format(ensi_text_t *t, const char *format, ...) ENSI_PRINTF(2, 3);
static ENSI_UNUSED void ensi_text_format(ensi_text_t *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ensi_text_format_v(t, format, args);
    va_end(args);
}

/* vsnprintf. */
static int ensi_fmt_v(char *out, size_t cap, const char *format, va_list args)
{
    ensi_text_t t;
    ensi_text_begin(&t, out, cap);
    ensi_text_format_v(&t, format, args);
    return ensi_text_end(&t, cap);
}

/* snprintf. */
static ENSI_UNUSED int ensi_fmt(char *out, size_t cap, const char *format, ...) ENSI_PRINTF(3, 4);
static ENSI_UNUSED int ensi_fmt(char *out, size_t cap, const char *format, ...)
{
    va_list args;
    int len;
    va_start(args, format);
    len = ensi_fmt_v(out, cap, format, args);
    va_end(args);
    return len;
}

/* The words of a peer steer no terminal: C0, DEL, and C1 (in UTF-8 0xC2 and 0x80..0x9F) become blanks. */
static void ensi_blank_controls(char *text)
{
    for (uint8_t *p = (uint8_t *)text; *p; p++) {
        if (*p == 0xC2 && p[1] >= 0x80 && p[1] < 0xA0) *p++ = ' ';
        else if (*p >= ' ' && *p != 0x7F) continue;
        *p = ' ';
    }
}

/* With ENSIGN_NO_ERROR_TEXT a macro of its name calls each function that makes an error, and drops the words:
 * the compiler checks them, and keeps no literal and no argument. */
#ifdef ENSIGN_NO_ERROR_TEXT
static bool ensi_words(const char *format, ...) ENSI_PRINTF(1, 2);
static bool ensi_words(const char *format, ...)
{
    return format != NULL;
}
#define ENSI_NO_WORDS(...) ((void)(false && ensi_words(__VA_ARGS__)))
#endif

static void ensi_fail_v(ensign_error_t *e, int code, int native, const char *format, va_list args)
{
    char text[sizeof e->text]; /* the arguments may show the old text */
    if (!e) return;
#ifdef ENSIGN_NO_ERROR_TEXT
    format = ensign_result_text(code); /* which has no conversion */
#endif
    memset(text, 0, sizeof text); /* errors are copied whole: nothing of the stack goes along */
    ensi_fmt_v(text, sizeof text, format, args);
    ensi_blank_controls(text);
    memcpy(e->text, text, sizeof text);
    e->code = code;
    e->native = native;
}

static int ensi_fail(ensign_error_t *e, int code, int native, const char *format, ...) ENSI_PRINTF(4, 5);
static int ensi_fail(ensign_error_t *e, int code, int native, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ensi_fail_v(e, code, native, format, args);
    va_end(args);
    return code;
}
#ifdef ENSIGN_NO_ERROR_TEXT
#define ensi_fail(e, code, native, ...) \
    (ENSI_NO_WORDS(__VA_ARGS__), ensi_fail(e, code, native, "?"))
#endif

const char *ensign_result_text(int code)
{
    switch (code) {
#define ENSIGN_X(name, number, text) case number: return text;
        ENSIGN_RESULT_LIST(ENSIGN_X)
#undef ENSIGN_X
    default: return "unknown result";
    }
}

const char *ensign_result_name(int code)
{
    switch (code) {
#define ENSIGN_X(name, number, text) case number: return "ENSIGN_" #name;
        ENSIGN_RESULT_LIST(ENSIGN_X)
#undef ENSIGN_X
    default: return "?";
    }
}

/* State machines are tables of legal moves; nobody assigns a state but the one function of its section. */
typedef struct ensi_move_t { uint8_t from, in, to; } ensi_move_t;

/* The state that `in` leads to, or -1: no legal move. */
static int ensi_move(const ensi_move_t *moves, size_t count, int from, int in)
{
    for (size_t i = 0; i < count; i++)
        if (moves[i].from == from && moves[i].in == in) return moves[i].to;
    return -1;
}

/* A move that the section's contract calls legal. What a peer or a caller can make happen is asked for by
 * `if`. */
static void ensi_must(bool moved)
{
    ENSIGN_ASSERT(moved);
    (void)moved;
}

typedef enum { ENSI_TIMER_OFF, ENSI_TIMER_FRESH, ENSI_TIMER_ARMED } ensi_timer_state_t;
typedef struct ensi_timer_t { uint64_t at_ms; uint32_t after_ms; ensi_timer_state_t state; } ensi_timer_t;

static void ensi_timer_start(ensi_timer_t *t, uint32_t after_ms)
{
    t->after_ms = after_ms;
    t->state = after_ms == ENSIGN_FOREVER ? ENSI_TIMER_OFF : ENSI_TIMER_FRESH;
}

static void ensi_timer_stop(ensi_timer_t *t)
{
    t->state = ENSI_TIMER_OFF;
}

/* The time of one that was only started counts from now. */
static void ensi_timer_arm(ensi_timer_t *t, uint64_t now_ms)
{
    if (t->state != ENSI_TIMER_FRESH) return;
    t->at_ms = now_ms + t->after_ms;
    t->state = ENSI_TIMER_ARMED;
}

/* True once, when the time is up. */
static bool ensi_timer_due(ensi_timer_t *t, uint64_t now_ms)
{
    ensi_timer_arm(t, now_ms);
    if (t->state != ENSI_TIMER_ARMED || now_ms < t->at_ms) return false;
    t->state = ENSI_TIMER_OFF;
    return true;
}

/* Milliseconds that are left; ENSIGN_FOREVER when it does not run. */
static uint32_t ensi_timer_left(const ensi_timer_t *t, uint64_t now_ms)
{
    uint64_t left;
    if (t->state == ENSI_TIMER_OFF) return ENSIGN_FOREVER;
    if (t->state == ENSI_TIMER_FRESH) return t->after_ms;
    left = t->at_ms > now_ms ? t->at_ms - now_ms : 0;
    return left < ENSIGN_FOREVER - 1 ? (uint32_t)left : ENSIGN_FOREVER - 1;
}

/* The time of the step that is due for it; UINT64_MAX: none is. One that was only started needs a step at
 * once: its time counts from there, so a loop that slept for the whole duration first would make it twice as
 * long. */
static uint64_t ensi_timer_at(const ensi_timer_t *t)
{
    if (t->state == ENSI_TIMER_OFF) return UINT64_MAX;
    return t->state == ENSI_TIMER_FRESH ? 0 : t->at_ms;
}

/* `due`, or when the timer is due, if that is sooner. */
static inline uint64_t ensi_timer_sooner(uint64_t due, const ensi_timer_t *t)
{
    uint64_t at = ensi_timer_at(t);
    return at < due ? at : due;
}

/* >>mem   may call: util
 *         open to: env client create
 * The allocator: counted, limited, small blocks kept
 *
 * Owns   the count of bytes out (`used`), of hook calls (`calls`), and a list of freed small blocks.
 * Holds  each block has its size in front, so that `used` is exact and a free needs no size.
 *        used <= limit, where there is a limit; blocks in the list count as used.
 *        Small blocks come from the list first: nghttp2 takes one for each WINDOW_UPDATE, PING and SETTINGS
 *        that it sends, and steady state must not reach the hook.
 * Fails  NULL; nothing changed. */
enum { ENSI_MEM_HEADER = 16, ENSI_MEM_SMALL = 192, ENSI_MEM_KEEP = 64, ENSI_MEM_PRIME = 24 };

typedef struct ensi_mem_t {
    void *user;
    void *(*alloc)(void *user, void *old, size_t size);
    size_t used, limit;
    uint64_t calls;
    void *small;            /* freed small blocks, linked through their first bytes */
    uint32_t small_count;
} ensi_mem_t;

static void *ensi_mem_default(void *user, void *old, size_t size)
{
    (void)user;
    if (size == 0) {
        ENSIGN_FREE(old);
        return NULL;
    }
    return old ? ENSIGN_REALLOC(old, size) : ENSIGN_MALLOC(size);
}

static size_t ensi_mem_size(const void *p)
{
    size_t size;
    memcpy(&size, (const uint8_t *)p - ENSI_MEM_HEADER, sizeof size);
    return size;
}

static void *ensi_mem_resize(ensi_mem_t *m, void *p, size_t size)
{
    size_t old = p ? ensi_mem_size(p) + ENSI_MEM_HEADER : 0;
    size_t full = size + ENSI_MEM_HEADER;
    uint8_t *base = p ? (uint8_t *)p - ENSI_MEM_HEADER : NULL;

    if (full < size || (m->limit && full > old && full - old > m->limit - m->used)) return NULL;
    m->calls++;
    base = (uint8_t *)m->alloc(m->user, base, full);
    if (!base) return NULL;
    m->used = m->used - old + full;
    memcpy(base, &size, sizeof size);
    return base + ENSI_MEM_HEADER;
}

static void ensi_mem_release(ensi_mem_t *m, void *p)
{
    m->used -= ensi_mem_size(p) + ENSI_MEM_HEADER;
    m->calls++;
    m->alloc(m->user, (uint8_t *)p - ENSI_MEM_HEADER, 0);
}

static void *ensi_mem_take(ensi_mem_t *m, size_t size)
{
    void *p = m->small;
    if (size > ENSI_MEM_SMALL || !p) return ensi_mem_resize(m, NULL, ensi_max(size, ENSI_MEM_SMALL));
    memcpy(&m->small, p, sizeof m->small);
    m->small_count--;
    return p;
}

static void *ensi_mem_zero(ensi_mem_t *m, size_t size)
{
    void *p = ensi_mem_take(m, size);
    if (p) memset(p, 0, size);
    return p;
}

/* What is always true; for assertions. */
static ENSI_UNUSED bool ensi_mem_holds(const ensi_mem_t *m)
{
    return (m->limit == 0 || m->used <= m->limit) && m->small_count <= ENSI_MEM_KEEP &&
           (m->small_count == 0) == (m->small == NULL);
}

static void ensi_mem_free(ensi_mem_t *m, void *p)
{
    if (!p) return;
    if (ensi_mem_size(p) != ENSI_MEM_SMALL || m->small_count == ENSI_MEM_KEEP) {
        ensi_mem_release(m, p);
        return;
    }
    memcpy(p, &m->small, sizeof m->small);
    m->small = p;
    m->small_count++;
}

/* Fills the list, so that the first peaks of a connection do not reach the hook. No harm if it fails. */
static void ensi_mem_prime(ensi_mem_t *m, uint32_t count)
{
    while (m->small_count < count) {
        void *p = ensi_mem_resize(m, NULL, ENSI_MEM_SMALL);
        if (!p) return;
        ensi_mem_free(m, p);
    }
}

static void ensi_mem_close(ensi_mem_t *m)
{
    while (m->small) {
        void *p = m->small;
        memcpy(&m->small, p, sizeof m->small);
        ensi_mem_release(m, p);
    }
    m->small_count = 0;
}

static char *ensi_mem_text(ensi_mem_t *m, const char *text)
{
    size_t len = text ? strlen(text) : 0;
    char *p = (char *)ensi_mem_resize(m, NULL, len + 1);
    if (!p) return NULL;
    if (len) memcpy(p, text, len);
    p[len] = '\0';
    return p;
}

/* >>env   may call: util
 *         open to: all
 * What every object is given: memory, time, error, log
 *
 * Owns   the time of the last step, the last error, the hooks, the limits of backoff and its draw, the random
 *        state of jitter and ids, and `work`: a call outside of a step has left something to do.
 * Holds  now_ms never goes back.
 *        No text leaves the client with one of `secrets` in it, though a server should tell it: what is
 *        logged, ensign_error, and the errors of notices go through ensi_env_hide. */
enum { ENSI_OPENING_NO, ENSI_OPENING_RUNS, ENSI_OPENING_FAILED };
enum {
    ENSI_SECRET_KEY, ENSI_SECRET_TOKEN, ENSI_SECRET_TOKEN_BEFORE, ENSI_SECRET_REFRESH, ENSI_SECRET_PROXY,
    ENSI_SECRET_PROXY_PASSWORD, ENSI_SECRETS
};

typedef struct ensi_env_t {
    ensi_mem_t mem;
    ensign_error_t error;       /* of the last failing call */
    const char *later;          /* its text, while `error` has none: made when it is asked for */
    uint64_t now_ms;
    uint64_t rng;
    bool work;                  /* a step would do something */
    uint8_t opening;            /* an opener runs; or ENSI_OPENING_FAILED: `error` is still what it met */
    bool stepping;              /* inside step: wake is not called */
    bool timed;                 /* a step runs that was given the time, so now_ms is current */
    void *user;
    int64_t (*wall_ms)(void *user);
    void (*wake)(void *user);
    void (*log)(void *user, int level, const char *text);
    void (*trace)(void *user, const ensign_frame_t *frame);
    const char *secrets[ENSI_SECRETS];  /* that no text may show, whoever says them; NULL: none */
    ensign_stats_t stats;       /* of the client */
    uint32_t backoff_min_ms, backoff_max_ms;
} ensi_env_t;

/* Failures in a row of one thing that is tried again, and when the first of them was. */
typedef struct ensi_backoff_t { uint32_t failures; uint64_t since_ms; } ensi_backoff_t;

static void ensi_backoff_fail(ensi_backoff_t *b, const ensi_env_t *v)
{
    if (b->failures == 0) b->since_ms = v->now_ms;
    b->failures++;
}

/* Returns how long the next attempt waits, in ms: full jitter, anything from 0 to a limit, which doubles with
 * each failure in a row. It is never above the time since the first failure and backoff_min_ms: so what comes
 * back after an outage is found within twice its length. */
static uint32_t ensi_backoff_draw(const ensi_backoff_t *b, ensi_env_t *v)
{
    uint64_t limit = v->backoff_min_ms, outage = v->now_ms - b->since_ms + v->backoff_min_ms;
    if (b->failures == 0) return 0;
    for (uint32_t i = 1; i < b->failures && limit < v->backoff_max_ms; i++) limit *= 2;
    if (limit > v->backoff_max_ms) limit = v->backoff_max_ms;
    if (limit > outage) limit = outage;
    return (uint32_t)(ensi_rng_next(&v->rng) % (limit + 1));
}

/* `error` is about to be another one: that of the opener that runs, or one of a later call. */
static void ensi_env_note(ensi_env_t *v)
{
    v->opening = v->opening == ENSI_OPENING_RUNS ? ENSI_OPENING_FAILED : ENSI_OPENING_NO;
}

static int ensi_env_fail(ensi_env_t *v, int code, const char *format, ...) ENSI_PRINTF(3, 4);
static int ensi_env_fail(ensi_env_t *v, int code, const char *format, ...)
{
    va_list args;
    ensi_env_note(v);
    va_start(args, format);
    ensi_fail_v(&v->error, code, 0, format, args);
    va_end(args);
    return code;
}
#ifdef ENSIGN_NO_ERROR_TEXT
#define ensi_env_fail(v, code, ...) \
    (ENSI_NO_WORDS(__VA_ARGS__), ensi_env_fail(v, code, "?"))
#endif

/* The same, with the native code of the layer below. */
static ENSI_UNUSED int ensi_env_fail_native(ensi_env_t *v, int code, int native, const char *format, ...)
    ENSI_PRINTF(4, 5);
static ENSI_UNUSED int ensi_env_fail_native(ensi_env_t *v, int code, int native, const char *format, ...)
{
    va_list args;
    ensi_env_note(v);
    va_start(args, format);
    ensi_fail_v(&v->error, code, native, format, args);
    va_end(args);
    return code;
}
#ifdef ENSIGN_NO_ERROR_TEXT
#define ensi_env_fail_native(v, code, native, ...) \
    (ENSI_NO_WORDS(__VA_ARGS__), ensi_env_fail_native(v, code, native, "?"))
#endif

/* An error that a handle, or the connection, has met. */
static ENSI_UNUSED void ensi_env_copy(ensi_env_t *v, const ensign_error_t *e)
{
    ensi_env_note(v);
    v->error = *e;
}

/* A result above 0, on a path where no text is made: `text` is a constant. */
static int ensi_env_later(ensi_env_t *v, int code, const char *text)
{
    ensi_env_note(v);
    v->error.code = code;
    v->error.native = 0;
    v->error.text[0] = '\0';
    v->later = text;
    return code;
}

/* Lists the client's secrets in `out`. */
static size_t ensi_env_secrets(const ensi_env_t *v, ensign_slice_t out[ENSI_SECRETS])
{
    size_t count = 0;
    for (size_t i = 0; i < ENSI_SECRETS; i++)
        if (v->secrets[i]) out[count++] = ensign_str(v->secrets[i]);
    return count;
}

/* Hides the client's secrets in the words of a server, or in ours. Returns the new length. */
static size_t ensi_env_hide(const ensi_env_t *v, char *text, size_t len)
{
    ensign_slice_t secrets[ENSI_SECRETS];
    return ensi_hide(text, len, secrets, ensi_env_secrets(v, secrets));
}

/* The same for the text of an error that is about to be shown. */
static void ensi_env_hide_error(const ensi_env_t *v, ensign_error_t *e)
{
    e->text[ensi_env_hide(v, e->text, strlen(e->text))] = '\0';
}

#ifndef ENSIGN_NO_LOG_TEXT
static void ensi_log_line(ensi_env_t *v, int level, const char *format, ...) ENSI_PRINTF(3, 4);
static void ensi_log_line(ensi_env_t *v, int level, const char *format, ...)
{
    char line[320];
    va_list args;
    if (!v->log) return;
    va_start(args, format);
    ensi_fmt_v(line, sizeof line, format, args);
    va_end(args);
    line[ensi_env_hide(v, line, strlen(line))] = '\0';
    v->log(v->user, level, line);
}
#define ENSI_LOG(args) ensi_log_line args
#else
#define ENSI_LOG(args) ((void)0)
#endif

static void ensi_env_time(ensi_env_t *v, uint64_t now_ms)
{
    if (now_ms > v->now_ms) v->now_ms = now_ms;
}

/* A step is needed; tells the caller's loop once. */
static void ensi_env_work(ensi_env_t *v)
{
    if (v->work) return;
    v->work = true;
    if (v->wake && !v->stepping) v->wake(v->user);
}

/* size: what could not be had; 0: one of several things. */
static int ensi_env_memory(ensi_env_t *v, size_t size)
{
    char wanted[40] = "not enough";
    if (size > 0) ensi_fmt(wanted, sizeof wanted, "none for %lu bytes", (unsigned long)size);
    return ensi_env_fail(v, ENSIGN_E_MEMORY, "memory: %s (%lu in use%s); free some or raise memory_limit",
                         wanted, (unsigned long)v->mem.used, v->mem.limit ? ", memory_limit is set" : "");
}

/* >>trace   may call: util env
 *           open to: link h2 auth create
 * What the trace hook is told of each frame
 *
 * Owns   of each link, while the desc has the hook: the names of the header fields of the frame that comes,
 *        and of the one that goes; of the one that comes its header, and the first bytes of its payload, if
 *        that has numbers.
 * Holds  the values of headers do not get here, nor any byte of other payloads. The hook is called outside
 *        of nghttp2, when a frame is whole. The header is read from the wire, so a frame that nghttp2 drops
 *        is told like the others.
 *        Without the hook none of this exists: each place that would tell asks for one pointer. */
#include <nghttp2/nghttp2.h>

enum {
    ENSI_TRACE_NAMES = 1024,        /* with the NUL */
    ENSI_TRACE_HEAD = 9,            /* RFC 9113, 4.1 */
    ENSI_TRACE_SETTING = 6,         /* RFC 9113, 6.5.1 */
    ENSI_TRACE_SETTINGS = 16,
    ENSI_TRACE_KEPT = ENSI_TRACE_SETTING * ENSI_TRACE_SETTINGS
};

typedef struct ensi_names_t {
    char text[ENSI_TRACE_NAMES];
    size_t len;
    bool cut;
} ensi_names_t;

typedef struct ensi_trace_t {
    ensi_env_t *env;
    int link;                       /* ENSIGN_LINK_x */
    ensi_names_t in, out;
    uint8_t head[ENSI_TRACE_HEAD];  /* of the frame that comes */
    size_t head_len;
    size_t left;                    /* bytes of its payload that are still to come */
    uint8_t kept[ENSI_TRACE_KEPT];
    size_t kept_len;
} ensi_trace_t;

static void ensi_names_clear(ensi_names_t *n)
{
    n->text[0] = '\0';
    n->len = 0;
    n->cut = false;
}

/* Adds a name, or sets `cut` and adds no more. */
static void ensi_names_add(ensi_names_t *n, ensign_slice_t name)
{
    size_t blank = n->len > 0;
    if (n->cut || n->len + blank + name.len >= sizeof n->text) {
        n->cut = true;
        return;
    }
    if (blank) n->text[n->len++] = ' ';
    for (size_t i = 0; i < name.len; i++)
        n->text[n->len++] = name.ptr[i] > ' ' && name.ptr[i] < 0x7F ? (char)name.ptr[i] : '?';
    n->text[n->len] = '\0';
}

/* A new connection. */
static void ensi_trace_clear(ensi_trace_t *t)
{
    ensi_names_clear(&t->in);
    ensi_names_clear(&t->out);
    t->head_len = t->left = t->kept_len = 0;
}

/* Returns how many bytes of a payload have numbers that are told; behind those of GOAWAY there is a text. */
static size_t ensi_trace_keeps(int type)
{
    switch (type) {
    case ENSIGN_FRAME_SETTINGS: return ENSI_TRACE_KEPT;
    case ENSIGN_FRAME_GOAWAY: return 8;
    case ENSIGN_FRAME_RST_STREAM:
    case ENSIGN_FRAME_WINDOW_UPDATE: return 4;
    default: return 0;
    }
}

/* Reads the numbers of a payload, as far as it is here. */
static void ensi_trace_numbers(ensign_frame_t *f, ensign_setting_t *settings, const uint8_t *p, size_t n)
{
    uint32_t first = n >= 4 ? ensi_get_be32(p) : 0;
    if (f->type == ENSIGN_FRAME_RST_STREAM) f->code = first;
    if (f->type == ENSIGN_FRAME_WINDOW_UPDATE) f->increment = first & INT32_MAX;
    if (f->type == ENSIGN_FRAME_GOAWAY) {
        f->last_stream = first & INT32_MAX;
        f->code = n >= 8 ? ensi_get_be32(p + 4) : 0;
    }
    if (f->type != ENSIGN_FRAME_SETTINGS) return;
    f->settings = settings;
    for (; n >= ENSI_TRACE_SETTING && f->setting_count < ENSI_TRACE_SETTINGS; f->setting_count++) {
        settings[f->setting_count].id = ensi_get_be32(p) >> 16;
        settings[f->setting_count].value = ensi_get_be32(p + 2);
        p += ENSI_TRACE_SETTING;
        n -= ENSI_TRACE_SETTING;
    }
}

/* Fills in the direction and the names of a frame, hands it to the trace hook, and forgets the names. */
static void ensi_trace_tell(ensi_trace_t *t, ensign_frame_t *f, bool out)
{
    ensi_names_t *names = out ? &t->out : &t->in;
    names->text[ensi_env_hide(t->env, names->text, names->len)] = '\0'; /* a server may make a name of one */
    f->link = t->link;
    f->out = out;
    f->names = names->text;
    f->names_cut = names->cut;
    t->env->trace(t->env->user, f);
    ensi_names_clear(names);
}

/* A frame of HTTP/2, by its header and the n bytes of its payload that are here. */
static void ensi_trace_frame(ensi_trace_t *t, bool out, const uint8_t *head, const uint8_t *p, size_t n)
{
    ensign_setting_t settings[ENSI_TRACE_SETTINGS];
    ensign_frame_t f;
    memset(&f, 0, sizeof f);
    f.length = ensi_get_be32(head) >> 8;
    f.type = head[3];
    f.flags = head[4];
    f.stream = ensi_get_be32(head + 5) & INT32_MAX;
    ensi_trace_numbers(&f, settings, p, n);
    ensi_trace_tell(t, &f, out);
}

/* What nghttp2 hands out: whole frames, or the preface of the connection. */
static void ensi_trace_sent(ensi_trace_t *t, const uint8_t *p, size_t n)
{
    if (n >= 3 && memcmp(p, "PRI", 3) == 0) return; /* RFC 9113, 3.4; as a frame it would be too long */
    while (n >= ENSI_TRACE_HEAD) {
        size_t length = ensi_min(ensi_get_be32(p) >> 8, n - ENSI_TRACE_HEAD);
        ensi_trace_frame(t, true, p, p + ENSI_TRACE_HEAD, length);
        p += ENSI_TRACE_HEAD + length;
        n -= ENSI_TRACE_HEAD + length;
    }
}

/* Notes what has come of a frame. Returns how many of the n bytes belong to it; *whole: it ends there. */
static size_t ensi_trace_come(ensi_trace_t *t, const uint8_t *p, size_t n, bool *whole)
{
    size_t head = ensi_min(ENSI_TRACE_HEAD - t->head_len, n), body, keep;
    memcpy(t->head + t->head_len, p, head);
    t->head_len += head;
    *whole = false;
    if (t->head_len < ENSI_TRACE_HEAD) return head;
    if (head > 0) {
        t->left = ensi_get_be32(t->head) >> 8;
        t->kept_len = 0;
    }
    body = ensi_min(t->left, n - head);
    keep = ensi_min(body, ensi_trace_keeps(t->head[3]) - t->kept_len);
    if (keep > 0) memcpy(t->kept + t->kept_len, p + head, keep);
    t->kept_len += keep;
    t->left -= body;
    *whole = t->left == 0;
    return head + body;
}

/* Tells the frame that came, after it was looked at. It does nothing until the frame's header is whole. */
static void ensi_trace_came(ensi_trace_t *t)
{
    if (t->head_len < ENSI_TRACE_HEAD) return;
    t->head_len = 0;
    ensi_trace_frame(t, false, t->head, t->kept, t->kept_len);
}

/* ---- HTTP/1.1 */

/* Cuts the next line off, and returns it without its end. */
static ensign_slice_t ensi_trace_line(ensign_slice_t *text)
{
    const uint8_t *end = (const uint8_t *)memchr(text->ptr, '\n', text->len);
    size_t len = end ? (size_t)(end - text->ptr) : text->len, skip = end ? len + 1 : len;
    ensign_slice_t line = ensi_slice(text->ptr, len > 0 && text->ptr[len - 1] == '\r' ? len - 1 : len);
    *text = ensi_slice(text->ptr + skip, text->len - skip);
    return line;
}

/* Cuts off what stands before `c`, or all of it, and returns that. */
static ensign_slice_t ensi_trace_word(ensign_slice_t *line, char c)
{
    const uint8_t *end = (const uint8_t *)memchr(line->ptr, c, line->len);
    size_t len = end ? (size_t)(end - line->ptr) : line->len, skip = end ? len + 1 : len;
    ensign_slice_t word = ensi_slice(line->ptr, len);
    *line = ensi_slice(line->ptr + skip, line->len - skip);
    return word;
}

/* Tells a request that is about to be sent. Its last `body` bytes are the body. */
static void ensi_trace_request(ensi_trace_t *t, ensign_slice_t text, size_t body)
{
    ensign_slice_t head = ensi_slice(text.ptr, text.len - body), line = ensi_trace_line(&head);
    ensign_frame_t f;
    memset(&f, 0, sizeof f);
    f.type = ENSIGN_FRAME_REQUEST;
    f.length = (uint32_t)body;
    ensi_names_add(&t->out, ensi_trace_word(&line, ' '));
    ensi_names_add(&t->out, ensi_trace_word(&line, ' '));
    while (head.len > 0) {
        line = ensi_trace_line(&head);
        if (line.len > 0) ensi_names_add(&t->out, ensi_trace_word(&line, ':'));
    }
    ensi_trace_tell(t, &f, true);
}

/* An answer; its names are in `in`. */
static void ensi_trace_answer(ensi_trace_t *t, int status, size_t body)
{
    ensign_frame_t f;
    memset(&f, 0, sizeof f);
    f.type = ENSIGN_FRAME_ANSWER;
    f.code = (uint32_t)status;
    f.length = (uint32_t)body;
    ensi_trace_tell(t, &f, false);
}

/* ---- a frame as text */

const char *ensign_frame_name(int type)
{
    static const char *const names[] = {
        "DATA",         "HEADERS", "PRIORITY", "RST_STREAM",    "SETTINGS",
        "PUSH_PROMISE", "PING",    "GOAWAY",   "WINDOW_UPDATE", "CONTINUATION",
    };
    if (type == ENSIGN_FRAME_REQUEST) return "REQUEST";
    if (type == ENSIGN_FRAME_ANSWER) return "ANSWER";
    return type >= 0 && type < (int)ENSI_COUNT(names) ? names[type] : "?";
}

static void ensi_trace_put_type(ensi_text_t *t, int type)
{
    const char *name = ensign_frame_name(type);
    if (*name == '?') ensi_text_format(t, " type-%d", type);
    else ensi_text_format(t, " %s", name);
}

/* The names of the flags that this type has; the rest as a number. */
static void ensi_trace_put_flags(ensi_text_t *t, const ensign_frame_t *f)
{
    static const struct { int type; uint32_t bit; const char *name; } known[] = {
        { ENSIGN_FRAME_DATA, 0x1, "END_STREAM" },       { ENSIGN_FRAME_DATA, 0x8, "PADDED" },
        { ENSIGN_FRAME_HEADERS, 0x1, "END_STREAM" },    { ENSIGN_FRAME_HEADERS, 0x4, "END_HEADERS" },
        { ENSIGN_FRAME_HEADERS, 0x8, "PADDED" },        { ENSIGN_FRAME_HEADERS, 0x20, "PRIORITY" },
        { ENSIGN_FRAME_SETTINGS, 0x1, "ACK" },          { ENSIGN_FRAME_PING, 0x1, "ACK" },
        { ENSIGN_FRAME_CONTINUATION, 0x4, "END_HEADERS" },
    };
    const char *before = " flags=";
    uint32_t rest = f->flags;
    for (size_t i = 0; i < ENSI_COUNT(known); i++) {
        if (known[i].type != f->type || !(rest & known[i].bit)) continue;
        ensi_text_format(t, "%s%s", before, known[i].name);
        rest &= ~known[i].bit;
        before = "+";
    }
    if (rest) ensi_text_format(t, "%s0x%lx", before, (unsigned long)rest);
    else if (*before == ' ') ensi_text_format(t, " flags=0");
}

static void ensi_trace_put_settings(ensi_text_t *t, const ensign_frame_t *f)
{
    static const char *const names[] = { "HEADER_TABLE_SIZE",   "ENABLE_PUSH",    "MAX_CONCURRENT_STREAMS",
                                         "INITIAL_WINDOW_SIZE", "MAX_FRAME_SIZE", "MAX_HEADER_LIST_SIZE" };
    for (size_t i = 0; i < f->setting_count; i++) {
        uint32_t id = f->settings[i].id;
        if (id - 1 < ENSI_COUNT(names)) ensi_text_format(t, " %s", names[id - 1]);
        else ensi_text_format(t, " 0x%lx", (unsigned long)id);
        ensi_text_format(t, "=%lu", (unsigned long)f->settings[i].value);
    }
}

int ensign_frame_text(const ensign_frame_t *frame, char *out, size_t cap)
{
    static const char *const links[ENSIGN_MAX_LINKS] = { "rpc", "auth", "rpc-2" };
    ensi_text_t t;
    bool http2, known;
    if (!frame) return ENSIGN_E_ARGUMENT;
    ensi_text_begin(&t, out, cap);
    http2 = frame->type < ENSIGN_FRAME_REQUEST;
    known = frame->link >= 0 && frame->link < ENSIGN_MAX_LINKS;
    ensi_text_format(&t, "%c %s", frame->out ? '>' : '<', known ? links[frame->link] : "?");
    ensi_trace_put_type(&t, frame->type);
    if (http2) ensi_text_format(&t, " stream=%lu", (unsigned long)frame->stream);
    if (http2) ensi_trace_put_flags(&t, frame);
    ensi_text_format(&t, " length=%lu", (unsigned long)frame->length);
    if (frame->type == ENSIGN_FRAME_RST_STREAM || frame->type == ENSIGN_FRAME_GOAWAY)
        ensi_text_format(&t, " %s", nghttp2_http2_strerror(frame->code));
    if (frame->type == ENSIGN_FRAME_GOAWAY)
        ensi_text_format(&t, " last_stream=%lu", (unsigned long)frame->last_stream);
    if (frame->type == ENSIGN_FRAME_WINDOW_UPDATE)
        ensi_text_format(&t, " increment=%lu", (unsigned long)frame->increment);
    if (frame->type == ENSIGN_FRAME_ANSWER) ensi_text_format(&t, " status=%lu", (unsigned long)frame->code);
    ensi_trace_put_settings(&t, frame);
    if (frame->names && frame->names[0]) ensi_text_format(&t, " %s", frame->names);
    if (frame->names_cut) ensi_text_format(&t, " ...");
    return ensi_text_end(&t, cap);
}

#ifndef ENSIGN_NO_SOCKETS
/* >>sock   may call: util
 *          open to: sockets
 * Sockets as the OS has them, the state of one, and the race of a link's
 *
 * Owns   each link's sockets, from the dial until the poll set after they were listed with GONE. Their driver
 *        is section sockets; this part stands early because ensign_t holds it.
 * Holds  a link has ENSI_SOCK_RACERS sockets at most, those that are GONE counted: so a poll set has room for
 *        all. One of them at most is UP, and then none is CONNECTING.
 *        fd != -1 in each state but NONE. A serial names one socket for ever.
 * Moves  the table below; nobody else assigns `state`.
 * Fails  what can fail returns 0 or the errno (WSAGetLastError).
 *
 * On Windows the program calls WSAStartup before, and WSACleanup after. */
#ifdef _WIN32
#include <winsock2.h>
#include <ws2tcpip.h>

typedef WSAPOLLFD ensi_sock_pollfd_t;
typedef int ensi_sock_len_t;
typedef int ensi_sock_size_t;
#define ENSI_SOCK_FD(fd) ((SOCKET)(fd))
#define ENSI_SOCK_EINTR WSAEINTR
#define ENSI_SOCK_EINVAL WSAEINVAL

static int ensi_sock_os_error(void)
{
    return WSAGetLastError();
}

static bool ensi_sock_os_blocked(int e)
{
    return e == WSAEWOULDBLOCK || e == WSAEINPROGRESS;
}

static bool ensi_sock_os_full(int e)
{
    (void)e;
    return false;
}

static bool ensi_sock_os_scarce(int e)
{
    return e == WSAEMFILE;
}

static void ensi_sock_os_close(intptr_t fd)
{
    closesocket(ENSI_SOCK_FD(fd));
}

static int ensi_sock_os_open(int family, intptr_t *fd)
{
    u_long on = 1;
    SOCKET s = WSASocketW(family, SOCK_STREAM, IPPROTO_TCP, NULL, 0,
                          WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);

    if (s == INVALID_SOCKET) return ensi_sock_os_error();
    *fd = (intptr_t)s;
    return ioctlsocket(s, (long)FIONBIO, &on) == 0 ? 0 : ensi_sock_os_error();
}

static int ensi_sock_os_poll(ensi_sock_pollfd_t *p, size_t n, int timeout_ms)
{
    if (n == 0) { /* WSAPoll refuses an empty set */
        Sleep(timeout_ms < 0 ? INFINITE : (DWORD)timeout_ms);
        return 0;
    }
    return WSAPoll(p, (ULONG)n, timeout_ms) >= 0 ? 0 : ensi_sock_os_error();
}

static uint32_t ensi_sock_os_scope(const char *name)
{
    return (uint32_t)strtoul(name, NULL, 10);
}

ENSIGN_API uint64_t ensign_now_ms(void)
{
    return GetTickCount64();
}
#else
#include <fcntl.h>
#include <net/if.h>
#ifndef ENSIGN_NO_DNS
#include <netdb.h>
#endif
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#if !defined(CLOCK_MONOTONIC) || (!defined(AI_NUMERICHOST) && !defined(ENSIGN_NO_DNS))
#error "ensign.h: strict C (-std=c99) hides the POSIX functions that sockets need, and a header included \
before ensign.h has fixed that. Include ensign.h first in this file, or compile the file with \
-D_POSIX_C_SOURCE=200809L or -std=gnu99, or define ENSIGN_NO_SOCKETS."
#endif

typedef struct pollfd ensi_sock_pollfd_t;
typedef socklen_t ensi_sock_len_t;
typedef size_t ensi_sock_size_t;
#define ENSI_SOCK_FD(fd) ((int)(fd))
#define ENSI_SOCK_EINTR EINTR
#define ENSI_SOCK_EINVAL EINVAL

static int ensi_sock_os_error(void)
{
    return errno;
}

static bool ensi_sock_os_blocked(int e)
{
#if EAGAIN != EWOULDBLOCK
    if (e == EWOULDBLOCK) return true;
#endif
    /* EINTR is connect's: it goes on by itself, as with EINPROGRESS (POSIX). recv and send have repeated. */
    return e == EAGAIN || e == EINPROGRESS || e == EINTR;
}

/* Does connect say that the queue of a unix socket is full? */
static bool ensi_sock_os_full(int e)
{
    return e == EAGAIN;
}

/* Does the error say that no descriptor is left? */
static bool ensi_sock_os_scarce(int e)
{
    return e == EMFILE || e == ENFILE;
}

static void ensi_sock_os_close(intptr_t fd)
{
    close(ENSI_SOCK_FD(fd)); /* not repeated on EINTR: the number may be another's already */
}

static int ensi_sock_os_open(int family, intptr_t *fd)
{
#if defined(SOCK_CLOEXEC) && defined(SOCK_NONBLOCK)
    int s = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    *fd = s;
    return s >= 0 ? 0 : errno;
#else
    int s = socket(family, SOCK_STREAM, 0);

    *fd = s;
    if (s < 0 || fcntl(s, F_SETFD, FD_CLOEXEC) != 0 || fcntl(s, F_SETFL, O_NONBLOCK) != 0) return errno;
    return 0;
#endif
}

static int ensi_sock_os_poll(ensi_sock_pollfd_t *p, size_t n, int timeout_ms)
{
    return poll(p, (nfds_t)n, timeout_ms) >= 0 ? 0 : errno;
}

/* Of "fe80::1%eth0" the part behind %: a name, or its number. */
static uint32_t ensi_sock_os_scope(const char *name)
{
    unsigned index = if_nametoindex(name);

    return index ? index : (uint32_t)strtoul(name, NULL, 10);
}

ENSIGN_API uint64_t ensign_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}
#endif

static int ensi_sock_os_recv(intptr_t fd, uint8_t *to, size_t cap, size_t *len)
{
    ptrdiff_t k;

    do {
        k = recv(ENSI_SOCK_FD(fd), (char *)to, (ensi_sock_size_t)ensi_min(cap, INT32_MAX), 0);
    } while (k < 0 && ensi_sock_os_error() == ENSI_SOCK_EINTR);
    *len = k > 0 ? (size_t)k : 0;
    return k >= 0 ? 0 : ensi_sock_os_error();
}

static int ensi_sock_os_send(intptr_t fd, const uint8_t *from, size_t n, size_t *len)
{
#ifdef MSG_NOSIGNAL
    const int flags = MSG_NOSIGNAL;
#else
    const int flags = 0; /* where SIGPIPE exists, SO_NOSIGPIPE holds it back */
#endif
    ptrdiff_t k;

    do {
        k = send(ENSI_SOCK_FD(fd), (const char *)from, (ensi_sock_size_t)ensi_min(n, INT32_MAX), flags);
    } while (k < 0 && ensi_sock_os_error() == ENSI_SOCK_EINTR);
    *len = k > 0 ? (size_t)k : 0;
    return k >= 0 ? 0 : ensi_sock_os_error();
}

/* ---- the sockets of a link */
enum { ENSI_SOCK_RACERS = 3 };      /* sockets of one link at once, those that are GONE counted */

typedef enum {
    ENSI_SOCK_NONE,                 /* fd is -1 */
    ENSI_SOCK_CONNECTING,
    ENSI_SOCK_UP,
    ENSI_SOCK_GONE                  /* not used any more; waits for the next ensign_poll_set to list it */
} ensi_sock_state_t;

typedef struct ensi_sock_t {
    ensi_sock_state_t state;        /* assigned by ensi_sock_move alone */
    intptr_t fd;                    /* -1: none */
    intptr_t parting;               /* was listed with ENSIGN_GONE, the next poll set closes it; -1: none */
    uint32_t serial;                /* of fd; 0: none */
    size_t   address;               /* its index in the link's list */
    uint64_t since_ms;              /* when its connect began */
    bool     listed;                /* a loop knows fd: it must see GONE before the number is free again */
    bool     can_read, can_write;   /* not yet seen to block since it was ready */
    bool     cut_short;             /* the last read took less than there was room for, so most likely all */
    bool     full;                  /* rx has no room until tx is sent: TLS owes the peer an answer */
    bool     unsent;                /* the budget ran out with bytes left in tx */
} ensi_sock_t;

/* Of one link: the sockets that race to its addresses, then the one that has won. */
typedef struct ensi_race_t {
    ensi_sock_t sock[ENSI_SOCK_RACERS];
    uint32_t attempt;               /* of the link, that this dial or this socket serves */
    bool     used;                  /* it dials, or has a socket; one that is to be closed counts */
    bool     dialing;               /* `attempt` has been taken up, neither up nor down was answered yet */
    bool     held;                  /* an address is due, but no socket is free until GONE is listed */
    size_t   tried, count;          /* addresses of this dial that were taken so far, of so many */
    uint64_t next_ms;               /* the next one is due then, if a socket is free; 0: at once */
    uint32_t share_ms;              /* after so long a connect makes room for the next one */
    int      native;                /* errno of the last failure */
} ensi_race_t;

typedef struct ensi_sockets_t {
    ensi_race_t link[ENSIGN_MAX_LINKS];
    uint32_t last_serial;
    bool     again;                 /* a step stopped before all links were quiet */
} ensi_sockets_t;

typedef enum {
    ENSI_SOCK_IN_DIAL, ENSI_SOCK_IN_CONNECTED, ENSI_SOCK_IN_DROP, ENSI_SOCK_IN_CLOSE, ENSI_SOCK_IN_LIST
} ensi_sock_in_t;
static const ensi_move_t ensi_sock_moves[] = {
    { ENSI_SOCK_NONE,       ENSI_SOCK_IN_DIAL,      ENSI_SOCK_CONNECTING },
    { ENSI_SOCK_CONNECTING, ENSI_SOCK_IN_CONNECTED, ENSI_SOCK_UP         },
    { ENSI_SOCK_CONNECTING, ENSI_SOCK_IN_DROP,      ENSI_SOCK_GONE       }, /* a loop knows it */
    { ENSI_SOCK_UP,         ENSI_SOCK_IN_DROP,      ENSI_SOCK_GONE       },
    { ENSI_SOCK_CONNECTING, ENSI_SOCK_IN_CLOSE,     ENSI_SOCK_NONE       }, /* no loop ever saw it */
    { ENSI_SOCK_UP,         ENSI_SOCK_IN_CLOSE,     ENSI_SOCK_NONE       },
    { ENSI_SOCK_GONE,       ENSI_SOCK_IN_LIST,      ENSI_SOCK_NONE       }, /* fd becomes `parting` */
};

static bool ensi_sock_move(ensi_sock_state_t *state, ensi_sock_in_t in)
{
    int to = ensi_move(ensi_sock_moves, ENSI_COUNT(ensi_sock_moves), (int)*state, (int)in);
    if (to < 0) return false;
    *state = (ensi_sock_state_t)to;
    return true;
}

/* May there be something to read? `all`: as long as the OS has not said that there is nothing. */
static bool ensi_sock_may_read(const ensi_sock_t *s, bool all)
{
    return s->can_read && (all || !s->cut_short);
}

static bool ensi_sock_live(const ensi_sock_t *s)
{
    return s->state == ENSI_SOCK_CONNECTING || s->state == ENSI_SOCK_UP;
}

/* Done with the socket: closed now if no loop knows its number, else after it was listed with GONE. */
static void ensi_sock_drop(ensi_sock_t *s)
{
    s->can_read = s->cut_short = s->can_write = s->full = s->unsent = false;
    if (!ensi_sock_live(s)) return;
    if (s->listed) {
        ensi_sock_move(&s->state, ENSI_SOCK_IN_DROP);
        return;
    }
    ensi_sock_move(&s->state, ENSI_SOCK_IN_CLOSE);
    ensi_sock_os_close(s->fd);
    s->fd = -1;
}

/* Returns the first socket of the link in this state, or NULL. */
static ensi_sock_t *ensi_race_first(ensi_race_t *r, ensi_sock_state_t state)
{
    for (int i = 0; i < ENSI_SOCK_RACERS; i++)
        if (r->sock[i].state == state) return &r->sock[i];
    return NULL;
}

/* Drops all sockets of the link but this one; NULL: all. */
static void ensi_race_drop(ensi_race_t *r, const ensi_sock_t *but)
{
    for (int i = 0; i < ENSI_SOCK_RACERS; i++)
        if (&r->sock[i] != but) ensi_sock_drop(&r->sock[i]);
    r->dialing = r->held = false;
}

/* Returns how many connects are under way; *oldest is the index of the one that began first. */
static int ensi_race_under_way(const ensi_race_t *r, int *oldest)
{
    int count = 0;

    *oldest = 0;
    for (int i = 0; i < ENSI_SOCK_RACERS; i++) {
        if (r->sock[i].state != ENSI_SOCK_CONNECTING) continue;
        if (count++ == 0 || r->sock[i].since_ms < r->sock[*oldest].since_ms) *oldest = i;
    }
    return count;
}

/* Returns when the dial goes on to its next address, or UINT64_MAX when it does not. */
static uint64_t ensi_race_due(const ensi_race_t *r)
{
    int oldest, count = ensi_race_under_way(r, &oldest);
    uint64_t room;

    if (!r->dialing || r->tried >= r->count) return UINT64_MAX;
    if (count == 0) return 0;
    if (count < ENSI_SOCK_RACERS) return r->next_ms;
    if (r->share_ms == ENSIGN_FOREVER) return UINT64_MAX;
    room = r->sock[oldest].since_ms + r->share_ms;
    return room > r->next_ms ? room : r->next_ms;
}

static void ensi_sock_init(ensi_sockets_t *x)
{
    memset(x, 0, sizeof *x);
    for (int i = 0; i < ENSIGN_MAX_LINKS; i++)
        for (int k = 0; k < ENSI_SOCK_RACERS; k++)
            x->link[i].sock[k].fd = x->link[i].sock[k].parting = -1;
}

/* Milliseconds until a step is due: 0 where one would move bytes or dial at once, whatever the OS says; else
 * until the next address is dialled, or `due` where that is sooner. -1, as `due`: no timer runs. `all`: see
 * ensi_sock_may_read. */
static int ensi_sock_timer(const ensi_sockets_t *x, uint64_t now_ms, int due, bool all)
{
    bool more = x->again;

    for (int i = 0; i < ENSIGN_MAX_LINKS; i++) {
        const ensi_race_t *r = &x->link[i];
        uint64_t at;
        if (!r->used) continue;
        at = ensi_race_due(r);
        for (int k = 0; k < ENSI_SOCK_RACERS; k++) {
            const ensi_sock_t *s = &r->sock[k];
            more |= s->state == ENSI_SOCK_UP && ((ensi_sock_may_read(s, all) && !s->full) || s->unsent);
        }
        more |= r->held || at <= now_ms;
        if (at == UINT64_MAX || more) continue;
        if (due < 0 || at - now_ms < (uint64_t)due) due = (int)ensi_min((size_t)(at - now_ms), INT32_MAX);
    }
    return more ? 0 : due;
}

static void ensi_sock_free(ensi_sockets_t *x)
{
    for (int i = 0; i < ENSIGN_MAX_LINKS; i++) {
        for (int k = 0; k < ENSI_SOCK_RACERS; k++) {
            if (x->link[i].sock[k].fd != -1) ensi_sock_os_close(x->link[i].sock[k].fd);
            if (x->link[i].sock[k].parting != -1) ensi_sock_os_close(x->link[i].sock[k].parting);
        }
    }
    ensi_sock_init(x);
}
#endif /* ENSIGN_NO_SOCKETS */

#ifndef ENSIGN_NO_SERVICE
/* >>pb   may call:
 *        open to: id topic
 * The service's messages, by nanopb, decoded in place
 *
 * Owns   nothing: tables that never change, and functions that work on what they are given.
 * Holds  after a decode, good or failed, every slice and span of the message lies inside the bytes that
 *        were given, or is empty. Nothing is copied, so those bytes must outlive the message.
 *        A span holds whole fields; other fields of the same message may lie between.
 *        Enums are int32_t, strings bytes: an unknown number or broken UTF-8 is passed on, not judged.
 * Moves  decode: nanopb reads the bytes through a stream of ours, and asks ensi_pb_field to take the slices.
 *        encode: nanopb walks the tables, and asks ensi_pb_field to write slices and spans; one of length 0
 *        is left out. The hot paths may write by hand with ensi_pb_put_x: the same bytes, tests hold it to.
 * Fails  with false, without words: the caller knows which message of whom it was. Refused are a field of
 *        the wrong wire type, a group, a length past the end, a uint32 beyond 32 bits, and a submessage that
 *        comes twice with repeated fields in both (one span cannot hold them; without, the two merge). */
#if defined(__has_include)
#if __has_include(<nanopb/pb_decode.h>)
#define ENSI_PB_OWN_FOLDER
#endif
#endif
#ifdef ENSI_PB_OWN_FOLDER
#include <nanopb/pb_common.h>
#include <nanopb/pb_decode.h>
#include <nanopb/pb_encode.h>
#else
#include <pb_common.h>
#include <pb_decode.h>
#include <pb_encode.h>
#endif

/* The library was built with the flags that its packager chose, and these change what it and we exchange. */
#if defined(PB_BUFFER_ONLY) || defined(PB_NO_ERRMSG) || defined(PB_WITHOUT_64BIT) || defined(PB_FIELD_32BIT)
#error "ensign.h: nanopb needs its defaults: no PB_BUFFER_ONLY, PB_NO_ERRMSG, PB_WITHOUT_64BIT, PB_FIELD_x"
#endif
typedef char ensi_pb_wants_header_version_40[PB_PROTO_HEADER_VERSION == 40 ? 1 : -1];
typedef char ensi_pb_wants_16_bit_sizes[sizeof(pb_size_t) == 2 ? 1 : -1];

/* One field of any kind, as it lies on the wire. */
typedef struct ensi_pb_item_t { uint32_t tag; uint32_t wire; ensign_slice_t value; } ensi_pb_item_t;

/* A message as nanopb describes it, and the size of its struct, which nanopb does not note. */
typedef struct ensi_pb_table_t { pb_msgdesc_t fields; size_t size; } ensi_pb_table_t;

/* What a decode reads. */
typedef struct ensi_pb_cursor_t { const uint8_t *begin, *at, *end; } ensi_pb_cursor_t;

/* At most ten bytes; NULL if it is longer or passes `end`, else where it ends. */
static const uint8_t *ensi_pb_get_varint(const uint8_t *p, const uint8_t *end, uint64_t *value)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64 && p < end; shift += 7) {
        uint8_t byte = *p++;
        v |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *value = v;
            return p;
        }
    }
    return NULL;
}

/* Takes the field at *at and moves *at behind it; false, and nothing moved, if it is not whole. */
static bool ensi_pb_item_next(const uint8_t **at, const uint8_t *end, ensi_pb_item_t *item)
{
    uint64_t key = 0, len = 0;
    const uint8_t *p = ensi_pb_get_varint(*at, end, &key);
    const uint8_t *q;

    if (!p || key < 8 || key > UINT32_MAX) return false; /* field 0 is no field */
    item->tag = (uint32_t)(key >> 3);
    item->wire = (uint32_t)(key & 7);
    switch (item->wire) {
    case PB_WT_VARINT:
        q = ensi_pb_get_varint(p, end, &len);
        if (!q) return false;
        len = (uint64_t)(q - p);
        break;
    case PB_WT_64BIT: len = 8; break;
    case PB_WT_32BIT: len = 4; break;
    case PB_WT_STRING:
        p = ensi_pb_get_varint(p, end, &len);
        if (!p) return false;
        break;
    default: return false; /* groups: proto3 has none, nanopb refuses them too */
    }
    if (len > (uint64_t)(end - p)) return false;
    item->value.ptr = p;
    item->value.len = (size_t)len;
    *at = p + len;
    return true;
}

/* Next length-delimited field `tag`. *at starts at 0; at the end, and at a broken field, false for good. */
static bool ensi_pb_span_next(ensign_slice_t span, uint32_t tag, size_t *at, ensign_slice_t *value)
{
    ensi_pb_item_t item;

    while (*at < span.len) {
        const uint8_t *p = span.ptr + *at;
        if (!ensi_pb_item_next(&p, span.ptr + span.len, &item)) return false;
        *at = (size_t)(p - span.ptr);
        if (item.tag == tag && item.wire == PB_WT_STRING) {
            *value = item.value;
            return true;
        }
    }
    return false;
}

/* nanopb's stream over memory will not do: it shows a callback the value of a varint in a buffer on nanopb's
 * own stack, and a slice of that would dangle. A stream that reads through here has the caller's bytes. */
static bool ensi_pb_read(pb_istream_t *in, pb_byte_t *out, size_t count)
{
    ensi_pb_cursor_t *cursor = (ensi_pb_cursor_t *)in->state;

    if (count > (size_t)(cursor->end - cursor->at)) return false;
    if (out && count) memcpy(out, cursor->at, count);
    cursor->at += count;
    return true;
}

/* Where the field begins whose value begins at `value`, going back over length and tag. Either may be padded
 * (82 80 00): no byte of a varint but its last is below 0x80, and no tail of a tag equals the whole. */
static const uint8_t *ensi_pb_field_start(const uint8_t *begin, const uint8_t *value, uint32_t tag)
{
    const uint8_t *len = value - 1;
    uint64_t key = 0;

    while (len > begin && len[-1] >= 0x80) len--;
    for (const uint8_t *p = len; p > begin && len - p < 10;) {
        p--;
        if (ensi_pb_get_varint(p, len, &key) == len && key == (((uint64_t)tag << 3) | PB_WT_STRING)) return p;
    }
    return NULL;
}

/* What lies between the span and the new field must be whole fields. It is not if the two are in different
 * occurrences of a submessage, for then the second one's length covers the new field. */
static bool ensi_pb_span_add(ensign_slice_t *span, const uint8_t *start, const uint8_t *end)
{
    ensi_pb_item_t item;
    const uint8_t *p;

    if (!start) return false;
    if (span->len == 0) span->ptr = start;
    for (p = span->ptr + span->len; p < start;)
        if (!ensi_pb_item_next(&p, start, &item)) return false;
    span->len = (size_t)(end - span->ptr);
    return true;
}

static bool ensi_pb_field_take(pb_istream_t *in, const pb_field_iter_t *field)
{
    ensi_pb_cursor_t *cursor = (ensi_pb_cursor_t *)in->state;
    ensign_slice_t value;

    if (in->callback != ensi_pb_read) return false; /* the wrong wire type: `in` is over nanopb's stack */
    value.ptr = cursor->at;
    value.len = in->bytes_left;
    cursor->at += value.len;
    in->bytes_left = 0;
    if (PB_HTYPE(field->type) == PB_HTYPE_REPEATED)
        return ensi_pb_span_add((ensign_slice_t *)field->pData,
                                ensi_pb_field_start(cursor->begin, value.ptr, field->tag), cursor->at);
    *(ensign_slice_t *)field->pData = value;
    return true;
}

/* Only the span's own fields are written: what lies between has been decoded into members of its own. */
static bool ensi_pb_span_give(pb_ostream_t *out, ensign_slice_t span, uint32_t tag)
{
    const uint8_t *p = span.ptr, *from;
    ensi_pb_item_t item;

    for (size_t left = span.len; left > 0; left -= (size_t)(p - from)) {
        from = p;
        if (!ensi_pb_item_next(&p, from + left, &item)) return false;
        if (item.tag == tag && !pb_write(out, from, (size_t)(p - from))) return false;
    }
    return true;
}

static bool ensi_pb_field_give(pb_ostream_t *out, const pb_field_iter_t *field)
{
    const ensign_slice_t *value = (const ensign_slice_t *)field->pData;

    if (PB_HTYPE(field->type) == PB_HTYPE_REPEATED)
        return ensi_pb_span_give(out, *(const ensign_slice_t *)field->pData, field->tag);
    if (value->len == 0) return true;
    return pb_encode_tag_for_field(out, field) && pb_encode_string(out, value->ptr, value->len);
}

/* nanopb calls this for every slice and span of every message; one of the two streams is NULL. */
static bool ensi_pb_field(pb_istream_t *in, pb_ostream_t *out, const pb_field_iter_t *field)
{
    return in ? ensi_pb_field_take(in, field) : ensi_pb_field_give(out, field);
}

/* Zeroes the message first. `fields` are those of a table below. Slices point into `bytes`; an absent one has
 * ptr NULL, an empty one has not. */
static bool ensi_pb_decode(const pb_msgdesc_t *fields, void *message, const uint8_t *bytes, size_t len)
{
    ensi_pb_cursor_t cursor;
    pb_istream_t in;

    memset(message, 0, ((const ensi_pb_table_t *)(const void *)fields)->size);
    if (len == 0) return true; /* `bytes` may be NULL then */
    cursor.begin = bytes;
    cursor.at = bytes;
    cursor.end = bytes + len;
    memset(&in, 0, sizeof in);
    in.callback = ensi_pb_read;
    in.state = &cursor;
    in.bytes_left = len;
    return pb_decode_ex(&in, fields, message, PB_DECODE_NOINIT);
}

/* False if it does not fit `cap`, or if a span of the message is broken. */
static bool ensi_pb_encode(const pb_msgdesc_t *fields, const void *message, uint8_t *out, size_t cap,
                           size_t *len)
{
    pb_ostream_t stream = pb_ostream_from_buffer(out, cap);

    if (!pb_encode(&stream, fields, message)) return false;
    *len = stream.bytes_written;
    return true;
}

static bool ensi_pb_size(const pb_msgdesc_t *fields, const void *message, size_t *len)
{
    return pb_get_encoded_size(len, fields, message);
}

/* 1..10 */
static inline size_t ensi_pb_varint_size(uint64_t value)
{
    size_t n = 1;

    for (; value >= 0x80; value >>= 7) n++;
    return n;
}

static inline uint8_t *ensi_pb_put_varint(uint8_t *p, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) *p++ = (uint8_t)(value | 0x80);
    *p++ = (uint8_t)value;
    return p;
}

/* Tag, length and bytes of one field. */
static inline size_t ensi_pb_bytes_size(uint32_t tag, size_t len)
{
    return ensi_pb_varint_size((uint64_t)tag << 3) + ensi_pb_varint_size(len) + len;
}

/* Tag and length. */
static inline uint8_t *ensi_pb_put_head(uint8_t *p, uint32_t tag, size_t len)
{
    return ensi_pb_put_varint(ensi_pb_put_varint(p, ((uint64_t)tag << 3) | PB_WT_STRING), len);
}

/* Writes an empty one too: leaving it out is up to the caller. */
static inline uint8_t *ensi_pb_put_bytes(uint8_t *p, uint32_t tag, ensign_slice_t value)
{
    p = ensi_pb_put_head(p, tag, value.len);
    if (value.len) memcpy(p, value.ptr, value.len);
    return p + value.len;
}

/* nanopb's checks of sizes and offsets; gnu99 has no form of an assertion that clang does not find fault
 * with. */
#if defined(__STRICT_ANSI__) || defined(__cplusplus) ||                                                      \
    (defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L)
#define ENSI_PB_ASSERT(list) list
#else
#define ENSI_PB_ASSERT(list)
#endif

// BEGIN GENERATED by tools/gen from proto/: do not edit
enum { ENSI_PB_ENCRYPTION_ALGORITHM_HMAC_SHA256 = 310 };

enum { ENSI_PB_TOPIC_STATE_READY = 1, ENSI_PB_TOPIC_STATE_READONLY = 2, ENSI_PB_TOPIC_STATE_DELETING = 3,
    ENSI_PB_TOPIC_STATE_PENDING = 4 };

enum { ENSI_PB_TOPIC_MOD_OPERATION_ARCHIVE = 1, ENSI_PB_TOPIC_MOD_OPERATION_DESTROY = 2 };

enum { ENSI_PB_DEDUPLICATION_STRATEGY_NONE = 1, ENSI_PB_DEDUPLICATION_STRATEGY_STRICT = 2,
    ENSI_PB_DEDUPLICATION_STRATEGY_DATAGRAM = 3, ENSI_PB_DEDUPLICATION_STRATEGY_KEY_GROUPED = 4,
    ENSI_PB_DEDUPLICATION_STRATEGY_UNIQUE_KEY = 5, ENSI_PB_DEDUPLICATION_STRATEGY_UNIQUE_FIELD = 6 };

enum { ENSI_PB_DEDUPLICATION_OFFSET_POSITION_OFFSET_EARLIEST = 1,
    ENSI_PB_DEDUPLICATION_OFFSET_POSITION_OFFSET_LATEST = 2 };

enum { ENSI_PB_NACK_CODE_MAX_EVENT_SIZE_EXCEEDED = 1, ENSI_PB_NACK_CODE_TOPIC_UNKNOWN = 2,
    ENSI_PB_NACK_CODE_TOPIC_ARCHIVED = 3, ENSI_PB_NACK_CODE_TOPIC_DELETED = 4,
    ENSI_PB_NACK_CODE_CONSENSUS_FAILURE = 6, ENSI_PB_NACK_CODE_INTERNAL = 9 };

enum { ENSI_PB_SERVICE_STATE_STATUS_HEALTHY = 1, ENSI_PB_SERVICE_STATE_STATUS_UNHEALTHY = 2,
    ENSI_PB_SERVICE_STATE_STATUS_MAINTENANCE = 5 };

enum { ENSI_PB_HEALTH_CHECK_RESPONSE_SERVING_STATUS_UNKNOWN = 0,
    ENSI_PB_HEALTH_CHECK_RESPONSE_SERVING_STATUS_SERVING = 1,
    ENSI_PB_HEALTH_CHECK_RESPONSE_SERVING_STATUS_NOT_SERVING = 2,
    ENSI_PB_HEALTH_CHECK_RESPONSE_SERVING_STATUS_SERVICE_UNKNOWN = 3 };

/* PB_BIND of <pb.h> makes external symbols; this one keeps them inside, and notes the size of the struct. */
#define ENSI_PB_BIND(name, upper, width, callback) \
    static const uint32_t name##_info[] PB_PROGMEM = { \
        upper##_LIST(PB_GEN_FIELD_INFO_##width, name##_t) 0 \
    }; \
    static const pb_msgdesc_t *const name##_submsg[] = { upper##_LIST(PB_GEN_SUBMSG_INFO, name##_t) NULL }; \
    static ENSI_UNUSED const ensi_pb_table_t name##_table = { \
        { name##_info, name##_submsg, NULL, callback, \
          0 upper##_LIST(PB_GEN_FIELD_COUNT, name##_t), \
          0 upper##_LIST(PB_GEN_REQ_FIELD_COUNT, name##_t), \
          0 upper##_LIST(PB_GEN_LARGEST_TAG, name##_t) }, \
        sizeof(name##_t) \
    }; \
    ENSI_PB_ASSERT(upper##_LIST(PB_GEN_FIELD_INFO_ASSERT_##width, name##_t))

/* Unix time; nanos count forward, 0..999999999. */
typedef struct ensi_pb_timestamp_t {
    int64_t seconds;
    int32_t nanos;
} ensi_pb_timestamp_t;
#define ENSI_PB_TIMESTAMP_LIST(X, a) \
    X(a, STATIC, SINGULAR, INT64, seconds, 1) \
    X(a, STATIC, SINGULAR, INT32, nanos, 2)
ENSI_PB_BIND(ensi_pb_timestamp, ENSI_PB_TIMESTAMP, AUTO, NULL)
#define ensi_pb_timestamp_msg ensi_pb_timestamp_table.fields
#define ensi_pb_timestamp_fields (&ensi_pb_timestamp_msg)
enum { ENSI_PB_TIMESTAMP_SECONDS_TAG = 1, ENSI_PB_TIMESTAMP_NANOS_TAG = 2 };

/* Both of one sign; nanos within +-999999999. */
typedef struct ensi_pb_duration_t {
    int64_t seconds;
    int32_t nanos;
} ensi_pb_duration_t;
#define ENSI_PB_DURATION_LIST(X, a) \
    X(a, STATIC, SINGULAR, INT64, seconds, 1) \
    X(a, STATIC, SINGULAR, INT32, nanos, 2)
ENSI_PB_BIND(ensi_pb_duration, ENSI_PB_DURATION, AUTO, NULL)
#define ensi_pb_duration_msg ensi_pb_duration_table.fields
#define ensi_pb_duration_fields (&ensi_pb_duration_msg)

typedef struct ensi_pb_event_metadata_entry_t {
    ensign_slice_t key;
    ensign_slice_t value;
} ensi_pb_event_metadata_entry_t;
#define ENSI_PB_EVENT_METADATA_ENTRY_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, STRING, key, 1) \
    X(a, CALLBACK, SINGULAR, STRING, value, 2)
ENSI_PB_BIND(ensi_pb_event_metadata_entry, ENSI_PB_EVENT_METADATA_ENTRY, AUTO, ensi_pb_field)
#define ensi_pb_event_metadata_entry_msg ensi_pb_event_metadata_entry_table.fields
#define ensi_pb_event_metadata_entry_fields (&ensi_pb_event_metadata_entry_msg)
enum { ENSI_PB_EVENT_METADATA_ENTRY_KEY_TAG = 1, ENSI_PB_EVENT_METADATA_ENTRY_VALUE_TAG = 2 };

/* Name and version of the schema of Event.data. */
typedef struct ensi_pb_type_t {
    ensign_slice_t name;
    uint32_t major_version;
    uint32_t minor_version;
    uint32_t patch_version;
} ensi_pb_type_t;
#define ENSI_PB_TYPE_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, STRING, name, 1) \
    X(a, STATIC, SINGULAR, UINT32, major_version, 2) \
    X(a, STATIC, SINGULAR, UINT32, minor_version, 3) \
    X(a, STATIC, SINGULAR, UINT32, patch_version, 4)
ENSI_PB_BIND(ensi_pb_type, ENSI_PB_TYPE, AUTO, ensi_pb_field)
#define ensi_pb_type_msg ensi_pb_type_table.fields
#define ensi_pb_type_fields (&ensi_pb_type_msg)
enum { ENSI_PB_TYPE_NAME_TAG = 1, ENSI_PB_TYPE_MAJOR_VERSION_TAG = 2, ENSI_PB_TYPE_MINOR_VERSION_TAG = 3,
    ENSI_PB_TYPE_PATCH_VERSION_TAG = 4 };

/* The content, opaque to the server. */
typedef struct ensi_pb_event_t {
    ensign_slice_t data; /* may be empty */
    ensign_slice_t metadata;
    int32_t mimetype; /* unknown numbers pass */
    bool has_type;
    ensi_pb_type_t type; /* absent: untyped */
    bool has_created;
    ensi_pb_timestamp_t created; /* the publisher's clock; before 1970 too */
} ensi_pb_event_t;
#define ENSI_PB_EVENT_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, BYTES, data, 2) \
    X(a, CALLBACK, REPEATED, MESSAGE, metadata, 3) \
    X(a, STATIC, SINGULAR, INT32, mimetype, 4) \
    X(a, STATIC, OPTIONAL, MESSAGE, type, 5) \
    X(a, STATIC, OPTIONAL, MESSAGE, created, 15)
#define ensi_pb_event_t_metadata_MSGTYPE ensi_pb_event_metadata_entry
#define ensi_pb_event_t_type_MSGTYPE ensi_pb_type
#define ensi_pb_event_t_created_MSGTYPE ensi_pb_timestamp
ENSI_PB_BIND(ensi_pb_event, ENSI_PB_EVENT, AUTO, ensi_pb_field)
#define ensi_pb_event_msg ensi_pb_event_table.fields
#define ensi_pb_event_fields (&ensi_pb_event_msg)
enum { ENSI_PB_EVENT_DATA_TAG = 2, ENSI_PB_EVENT_METADATA_TAG = 3, ENSI_PB_EVENT_MIMETYPE_TAG = 4,
    ENSI_PB_EVENT_TYPE_TAG = 5, ENSI_PB_EVENT_CREATED_TAG = 15 };

/* Provenance of an event; all of it filled by the server. */
typedef struct ensi_pb_publisher_t {
    ensign_slice_t publisher_id; /* subject of the token */
    ensign_slice_t ipaddr; /* host:port of the peer */
    ensign_slice_t client_id; /* OpenStream.client_id */
    ensign_slice_t user_agent;
} ensi_pb_publisher_t;
#define ENSI_PB_PUBLISHER_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, STRING, publisher_id, 1) \
    X(a, CALLBACK, SINGULAR, STRING, ipaddr, 2) \
    X(a, CALLBACK, SINGULAR, STRING, client_id, 3) \
    X(a, CALLBACK, SINGULAR, STRING, user_agent, 4)
ENSI_PB_BIND(ensi_pb_publisher, ENSI_PB_PUBLISHER, AUTO, ensi_pb_field)
#define ensi_pb_publisher_msg ensi_pb_publisher_table.fields
#define ensi_pb_publisher_fields (&ensi_pb_publisher_msg)
enum { ENSI_PB_PUBLISHER_PUBLISHER_ID_TAG = 1, ENSI_PB_PUBLISHER_IPADDR_TAG = 2,
    ENSI_PB_PUBLISHER_CLIENT_ID_TAG = 3, ENSI_PB_PUBLISHER_USER_AGENT_TAG = 4 };

/* How Event bytes were encrypted. Passed through. */
typedef struct ensi_pb_encryption_t {
    ensign_slice_t public_key_id;
    ensign_slice_t encryption_key; /* sealed */
    ensign_slice_t hmac_secret; /* sealed */
    ensign_slice_t signature;
    int32_t sealing_algorithm;
    int32_t encryption_algorithm;
    int32_t signature_algorithm;
} ensi_pb_encryption_t;
#define ENSI_PB_ENCRYPTION_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, STRING, public_key_id, 1) \
    X(a, CALLBACK, SINGULAR, BYTES, encryption_key, 2) \
    X(a, CALLBACK, SINGULAR, BYTES, hmac_secret, 3) \
    X(a, CALLBACK, SINGULAR, BYTES, signature, 4) \
    X(a, STATIC, SINGULAR, INT32, sealing_algorithm, 5) \
    X(a, STATIC, SINGULAR, INT32, encryption_algorithm, 6) \
    X(a, STATIC, SINGULAR, INT32, signature_algorithm, 7)
ENSI_PB_BIND(ensi_pb_encryption, ENSI_PB_ENCRYPTION, AUTO, ensi_pb_field)
#define ensi_pb_encryption_msg ensi_pb_encryption_table.fields
#define ensi_pb_encryption_fields (&ensi_pb_encryption_msg)

/* How Event bytes were compressed. Passed through. */
typedef struct ensi_pb_compression_t {
    int32_t algorithm;
    int64_t level;
} ensi_pb_compression_t;
#define ENSI_PB_COMPRESSION_LIST(X, a) \
    X(a, STATIC, SINGULAR, INT32, algorithm, 1) \
    X(a, STATIC, SINGULAR, INT64, level, 2)
ENSI_PB_BIND(ensi_pb_compression, ENSI_PB_COMPRESSION, AUTO, NULL)
#define ensi_pb_compression_msg ensi_pb_compression_table.fields
#define ensi_pb_compression_fields (&ensi_pb_compression_msg)

/* The envelope. A publisher fills topic_id, event and local_id; the server the rest. */
typedef struct ensi_pb_event_wrapper_t {
    ensign_slice_t id; /* RLID, 10 bytes; server */
    ensign_slice_t topic_id; /* ULID, 16 bytes; publisher */
    uint64_t offset; /* place in the log of the project; ensignd (elsewhere 0) */
    uint64_t epoch; /* which log the offset is of; ensignd (elsewhere 0) */
    int32_t region; /* where it was published; server */
    bool has_publisher;
    ensi_pb_publisher_t publisher; /* who published it; server */
    ensign_slice_t key; /* sharding key; publisher */
    uint64_t shard; /* server */
    ensign_slice_t event; /* an encoded Event; publisher */
    bool has_encryption;
    ensi_pb_encryption_t encryption; /* publisher */
    bool has_compression;
    ensi_pb_compression_t compression; /* publisher */
    bool is_duplicate; /* only points at duplicate_id; server */
    ensign_slice_t duplicate_id; /* RLID of the original; server */
    bool has_committed;
    ensi_pb_timestamp_t committed; /* server; absent in EnSQL rows */
    ensign_slice_t local_id; /* comes back in Ack.id and Nack.id; publisher, never stored */
} ensi_pb_event_wrapper_t;
#define ENSI_PB_EVENT_WRAPPER_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, BYTES, id, 1) \
    X(a, CALLBACK, SINGULAR, BYTES, topic_id, 2) \
    X(a, STATIC, SINGULAR, UINT64, offset, 3) \
    X(a, STATIC, SINGULAR, UINT64, epoch, 4) \
    X(a, STATIC, SINGULAR, INT32, region, 5) \
    X(a, STATIC, OPTIONAL, MESSAGE, publisher, 6) \
    X(a, CALLBACK, SINGULAR, BYTES, key, 7) \
    X(a, STATIC, SINGULAR, UINT64, shard, 8) \
    X(a, CALLBACK, SINGULAR, BYTES, event, 9) \
    X(a, STATIC, OPTIONAL, MESSAGE, encryption, 10) \
    X(a, STATIC, OPTIONAL, MESSAGE, compression, 11) \
    X(a, STATIC, SINGULAR, BOOL, is_duplicate, 12) \
    X(a, CALLBACK, SINGULAR, BYTES, duplicate_id, 13) \
    X(a, STATIC, OPTIONAL, MESSAGE, committed, 15) \
    X(a, CALLBACK, SINGULAR, BYTES, local_id, 16)
#define ensi_pb_event_wrapper_t_publisher_MSGTYPE ensi_pb_publisher
#define ensi_pb_event_wrapper_t_encryption_MSGTYPE ensi_pb_encryption
#define ensi_pb_event_wrapper_t_compression_MSGTYPE ensi_pb_compression
#define ensi_pb_event_wrapper_t_committed_MSGTYPE ensi_pb_timestamp
ENSI_PB_BIND(ensi_pb_event_wrapper, ENSI_PB_EVENT_WRAPPER, 2, ensi_pb_field)
#define ensi_pb_event_wrapper_msg ensi_pb_event_wrapper_table.fields
#define ensi_pb_event_wrapper_fields (&ensi_pb_event_wrapper_msg)
enum { ENSI_PB_EVENT_WRAPPER_ID_TAG = 1, ENSI_PB_EVENT_WRAPPER_TOPIC_ID_TAG = 2,
    ENSI_PB_EVENT_WRAPPER_OFFSET_TAG = 3, ENSI_PB_EVENT_WRAPPER_EPOCH_TAG = 4,
    ENSI_PB_EVENT_WRAPPER_REGION_TAG = 5, ENSI_PB_EVENT_WRAPPER_PUBLISHER_TAG = 6,
    ENSI_PB_EVENT_WRAPPER_KEY_TAG = 7, ENSI_PB_EVENT_WRAPPER_SHARD_TAG = 8,
    ENSI_PB_EVENT_WRAPPER_EVENT_TAG = 9, ENSI_PB_EVENT_WRAPPER_ENCRYPTION_TAG = 10,
    ENSI_PB_EVENT_WRAPPER_COMPRESSION_TAG = 11, ENSI_PB_EVENT_WRAPPER_IS_DUPLICATE_TAG = 12,
    ENSI_PB_EVENT_WRAPPER_COMMITTED_TAG = 15, ENSI_PB_EVENT_WRAPPER_LOCAL_ID_TAG = 16 };

typedef struct ensi_pb_deduplication_t {
    int32_t strategy;
    int32_t offset; /* which copy is the original */
    ensign_slice_t keys; /* of the metadata; KEY_GROUPED, UNIQUE_KEY */
    ensign_slice_t fields; /* of the data; UNIQUE_FIELD */
    bool overwrite_duplicate;
} ensi_pb_deduplication_t;
#define ENSI_PB_DEDUPLICATION_LIST(X, a) \
    X(a, STATIC, SINGULAR, INT32, strategy, 1) \
    X(a, STATIC, SINGULAR, INT32, offset, 2) \
    X(a, CALLBACK, REPEATED, STRING, keys, 3) \
    X(a, CALLBACK, REPEATED, STRING, fields, 4) \
    X(a, STATIC, SINGULAR, BOOL, overwrite_duplicate, 5)
ENSI_PB_BIND(ensi_pb_deduplication, ENSI_PB_DEDUPLICATION, AUTO, ensi_pb_field)
#define ensi_pb_deduplication_msg ensi_pb_deduplication_table.fields
#define ensi_pb_deduplication_fields (&ensi_pb_deduplication_msg)
enum { ENSI_PB_DEDUPLICATION_KEYS_TAG = 3, ENSI_PB_DEDUPLICATION_FIELDS_TAG = 4 };

typedef struct ensi_pb_node_t {
    ensign_slice_t id;
    ensign_slice_t hostname;
    uint64_t quorum;
    uint64_t shard;
    int32_t region;
    ensign_slice_t url;
} ensi_pb_node_t;
#define ENSI_PB_NODE_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, STRING, id, 1) \
    X(a, CALLBACK, SINGULAR, STRING, hostname, 2) \
    X(a, STATIC, SINGULAR, UINT64, quorum, 3) \
    X(a, STATIC, SINGULAR, UINT64, shard, 4) \
    X(a, STATIC, SINGULAR, INT32, region, 5) \
    X(a, CALLBACK, SINGULAR, STRING, url, 6)
ENSI_PB_BIND(ensi_pb_node, ENSI_PB_NODE, AUTO, ensi_pb_field)
#define ensi_pb_node_msg ensi_pb_node_table.fields
#define ensi_pb_node_fields (&ensi_pb_node_msg)

/* Where the shards of a topic live. */
typedef struct ensi_pb_placement_t {
    uint64_t epoch;
    int32_t sharding;
    ensign_slice_t regions; /* packed */
    ensign_slice_t nodes;
} ensi_pb_placement_t;
#define ENSI_PB_PLACEMENT_LIST(X, a) \
    X(a, STATIC, SINGULAR, UINT64, epoch, 1) \
    X(a, STATIC, SINGULAR, INT32, sharding, 2) \
    X(a, CALLBACK, REPEATED, INT32, regions, 3) \
    X(a, CALLBACK, REPEATED, MESSAGE, nodes, 4)
#define ensi_pb_placement_t_nodes_MSGTYPE ensi_pb_node
ENSI_PB_BIND(ensi_pb_placement, ENSI_PB_PLACEMENT, AUTO, ensi_pb_field)
#define ensi_pb_placement_msg ensi_pb_placement_table.fields
#define ensi_pb_placement_fields (&ensi_pb_placement_msg)

/* The whole record. CreateTopic wants name, project_id and perhaps deduplication; the server fills the
   rest. */
typedef struct ensi_pb_topic_t {
    ensign_slice_t id; /* ULID, 16 bytes */
    ensign_slice_t project_id; /* ULID, 16 bytes */
    ensign_slice_t name; /* one of its kind in the project */
    bool readonly; /* archived */
    uint64_t offset; /* not kept up by the server; so with shards, placements, types */
    uint32_t shards;
    int32_t status;
    bool has_deduplication;
    ensi_pb_deduplication_t deduplication;
    ensign_slice_t placements;
    ensign_slice_t types;
    bool has_created;
    ensi_pb_timestamp_t created;
    bool has_modified;
    ensi_pb_timestamp_t modified;
} ensi_pb_topic_t;
#define ENSI_PB_TOPIC_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, BYTES, id, 1) \
    X(a, CALLBACK, SINGULAR, BYTES, project_id, 2) \
    X(a, CALLBACK, SINGULAR, STRING, name, 3) \
    X(a, STATIC, SINGULAR, BOOL, readonly, 4) \
    X(a, STATIC, SINGULAR, UINT64, offset, 5) \
    X(a, STATIC, SINGULAR, UINT32, shards, 6) \
    X(a, STATIC, SINGULAR, INT32, status, 7) \
    X(a, STATIC, OPTIONAL, MESSAGE, deduplication, 11) \
    X(a, CALLBACK, REPEATED, MESSAGE, placements, 12) \
    X(a, CALLBACK, REPEATED, MESSAGE, types, 13) \
    X(a, STATIC, OPTIONAL, MESSAGE, created, 14) \
    X(a, STATIC, OPTIONAL, MESSAGE, modified, 15)
#define ensi_pb_topic_t_deduplication_MSGTYPE ensi_pb_deduplication
#define ensi_pb_topic_t_placements_MSGTYPE ensi_pb_placement
#define ensi_pb_topic_t_types_MSGTYPE ensi_pb_type
#define ensi_pb_topic_t_created_MSGTYPE ensi_pb_timestamp
#define ensi_pb_topic_t_modified_MSGTYPE ensi_pb_timestamp
ENSI_PB_BIND(ensi_pb_topic, ENSI_PB_TOPIC, AUTO, ensi_pb_field)
#define ensi_pb_topic_msg ensi_pb_topic_table.fields
#define ensi_pb_topic_fields (&ensi_pb_topic_msg)
enum { ENSI_PB_TOPIC_TYPES_TAG = 13 };

typedef struct ensi_pb_topics_page_t {
    ensign_slice_t topics;
    ensign_slice_t next_page_token; /* empty: the last page */
} ensi_pb_topics_page_t;
#define ENSI_PB_TOPICS_PAGE_LIST(X, a) \
    X(a, CALLBACK, REPEATED, MESSAGE, topics, 1) \
    X(a, CALLBACK, SINGULAR, STRING, next_page_token, 2)
#define ensi_pb_topics_page_t_topics_MSGTYPE ensi_pb_topic
ENSI_PB_BIND(ensi_pb_topics_page, ENSI_PB_TOPICS_PAGE, AUTO, ensi_pb_field)
#define ensi_pb_topics_page_msg ensi_pb_topics_page_table.fields
#define ensi_pb_topics_page_fields (&ensi_pb_topics_page_msg)
enum { ENSI_PB_TOPICS_PAGE_TOPICS_TAG = 1 };

/* Asked with the plain name (TopicExists), answered with its hash (TopicNames). */
typedef struct ensi_pb_topic_name_t {
    ensign_slice_t topic_id; /* ULID text, 26 characters */
    ensign_slice_t project_id; /* ULID text, 26 characters */
    ensign_slice_t name;
} ensi_pb_topic_name_t;
#define ENSI_PB_TOPIC_NAME_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, STRING, topic_id, 1) \
    X(a, CALLBACK, SINGULAR, STRING, project_id, 2) \
    X(a, CALLBACK, SINGULAR, STRING, name, 3)
ENSI_PB_BIND(ensi_pb_topic_name, ENSI_PB_TOPIC_NAME, AUTO, ensi_pb_field)
#define ensi_pb_topic_name_msg ensi_pb_topic_name_table.fields
#define ensi_pb_topic_name_fields (&ensi_pb_topic_name_msg)

typedef struct ensi_pb_topic_names_page_t {
    ensign_slice_t topic_names;
    ensign_slice_t next_page_token; /* empty: the last page */
} ensi_pb_topic_names_page_t;
#define ENSI_PB_TOPIC_NAMES_PAGE_LIST(X, a) \
    X(a, CALLBACK, REPEATED, MESSAGE, topic_names, 1) \
    X(a, CALLBACK, SINGULAR, STRING, next_page_token, 2)
#define ensi_pb_topic_names_page_t_topic_names_MSGTYPE ensi_pb_topic_name
ENSI_PB_BIND(ensi_pb_topic_names_page, ENSI_PB_TOPIC_NAMES_PAGE, AUTO, ensi_pb_field)
#define ensi_pb_topic_names_page_msg ensi_pb_topic_names_page_table.fields
#define ensi_pb_topic_names_page_fields (&ensi_pb_topic_names_page_msg)
enum { ENSI_PB_TOPIC_NAMES_PAGE_TOPIC_NAMES_TAG = 1 };

/* The share of one schema and mimetype in a topic's numbers. */
typedef struct ensi_pb_event_type_info_t {
    bool has_type;
    ensi_pb_type_t type; /* name "Unspecified" stands for untyped */
    int32_t mimetype;
    uint64_t events;
    uint64_t duplicates;
    uint64_t data_size_bytes;
    bool has_modified;
    ensi_pb_timestamp_t modified; /* never set so far */
} ensi_pb_event_type_info_t;
#define ENSI_PB_EVENT_TYPE_INFO_LIST(X, a) \
    X(a, STATIC, OPTIONAL, MESSAGE, type, 1) \
    X(a, STATIC, SINGULAR, INT32, mimetype, 2) \
    X(a, STATIC, SINGULAR, UINT64, events, 10) \
    X(a, STATIC, SINGULAR, UINT64, duplicates, 11) \
    X(a, STATIC, SINGULAR, UINT64, data_size_bytes, 12) \
    X(a, STATIC, OPTIONAL, MESSAGE, modified, 15)
#define ensi_pb_event_type_info_t_type_MSGTYPE ensi_pb_type
#define ensi_pb_event_type_info_t_modified_MSGTYPE ensi_pb_timestamp
ENSI_PB_BIND(ensi_pb_event_type_info, ENSI_PB_EVENT_TYPE_INFO, AUTO, NULL)
#define ensi_pb_event_type_info_msg ensi_pb_event_type_info_table.fields
#define ensi_pb_event_type_info_fields (&ensi_pb_event_type_info_msg)

/* Numbers of one topic. */
typedef struct ensi_pb_topic_info_t {
    ensign_slice_t topic_id; /* ULID, 16 bytes */
    ensign_slice_t project_id; /* ULID, 16 bytes */
    ensign_slice_t event_offset_id; /* RLID of the last event that was counted */
    uint64_t events; /* duplicates among them */
    uint64_t duplicates;
    uint64_t data_size_bytes; /* of the stored wrappers */
    ensign_slice_t types;
    bool has_modified;
    ensi_pb_timestamp_t modified;
} ensi_pb_topic_info_t;
#define ENSI_PB_TOPIC_INFO_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, BYTES, topic_id, 1) \
    X(a, CALLBACK, SINGULAR, BYTES, project_id, 2) \
    X(a, CALLBACK, SINGULAR, BYTES, event_offset_id, 3) \
    X(a, STATIC, SINGULAR, UINT64, events, 7) \
    X(a, STATIC, SINGULAR, UINT64, duplicates, 8) \
    X(a, STATIC, SINGULAR, UINT64, data_size_bytes, 9) \
    X(a, CALLBACK, REPEATED, MESSAGE, types, 14) \
    X(a, STATIC, OPTIONAL, MESSAGE, modified, 15)
#define ensi_pb_topic_info_t_types_MSGTYPE ensi_pb_event_type_info
#define ensi_pb_topic_info_t_modified_MSGTYPE ensi_pb_timestamp
ENSI_PB_BIND(ensi_pb_topic_info, ENSI_PB_TOPIC_INFO, AUTO, ensi_pb_field)
#define ensi_pb_topic_info_msg ensi_pb_topic_info_table.fields
#define ensi_pb_topic_info_fields (&ensi_pb_topic_info_msg)
enum { ENSI_PB_TOPIC_INFO_TYPES_TAG = 14 };

/* What DeleteTopic shall do. */
typedef struct ensi_pb_topic_mod_t {
    ensign_slice_t id; /* ULID text */
    int32_t operation;
} ensi_pb_topic_mod_t;
#define ENSI_PB_TOPIC_MOD_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, STRING, id, 1) \
    X(a, STATIC, SINGULAR, INT32, operation, 2)
ENSI_PB_BIND(ensi_pb_topic_mod, ENSI_PB_TOPIC_MOD, AUTO, ensi_pb_field)
#define ensi_pb_topic_mod_msg ensi_pb_topic_mod_table.fields
#define ensi_pb_topic_mod_fields (&ensi_pb_topic_mod_msg)

typedef struct ensi_pb_topic_status_t {
    ensign_slice_t id; /* ULID text; empty: the server failed */
    int32_t state;
} ensi_pb_topic_status_t;
#define ENSI_PB_TOPIC_STATUS_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, STRING, id, 1) \
    X(a, STATIC, SINGULAR, INT32, state, 2)
ENSI_PB_BIND(ensi_pb_topic_status, ENSI_PB_TOPIC_STATUS, AUTO, ensi_pb_field)
#define ensi_pb_topic_status_msg ensi_pb_topic_status_table.fields
#define ensi_pb_topic_status_fields (&ensi_pb_topic_status_msg)

typedef struct ensi_pb_topic_exists_info_t {
    ensign_slice_t query; /* what was looked up, in words */
    bool exists;
} ensi_pb_topic_exists_info_t;
#define ENSI_PB_TOPIC_EXISTS_INFO_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, STRING, query, 1) \
    X(a, STATIC, SINGULAR, BOOL, exists, 2)
ENSI_PB_BIND(ensi_pb_topic_exists_info, ENSI_PB_TOPIC_EXISTS_INFO, AUTO, ensi_pb_field)
#define ensi_pb_topic_exists_info_msg ensi_pb_topic_exists_info_table.fields
#define ensi_pb_topic_exists_info_fields (&ensi_pb_topic_exists_info_msg)

typedef struct ensi_pb_topic_policy_t {
    ensign_slice_t id; /* ULID text */
    bool has_deduplication_policy;
    ensi_pb_deduplication_t deduplication_policy; /* required */
    int32_t sharding_strategy; /* UNKNOWN, the server takes no other */
} ensi_pb_topic_policy_t;
#define ENSI_PB_TOPIC_POLICY_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, STRING, id, 1) \
    X(a, STATIC, OPTIONAL, MESSAGE, deduplication_policy, 2) \
    X(a, STATIC, SINGULAR, INT32, sharding_strategy, 3)
#define ensi_pb_topic_policy_t_deduplication_policy_MSGTYPE ensi_pb_deduplication
ENSI_PB_BIND(ensi_pb_topic_policy, ENSI_PB_TOPIC_POLICY, AUTO, ensi_pb_field)
#define ensi_pb_topic_policy_msg ensi_pb_topic_policy_table.fields
#define ensi_pb_topic_policy_fields (&ensi_pb_topic_policy_msg)

typedef struct ensi_pb_consumer_group_topic_offsets_entry_t {
    ensign_slice_t key;
    uint64_t value;
} ensi_pb_consumer_group_topic_offsets_entry_t;
#define ENSI_PB_CONSUMER_GROUP_TOPIC_OFFSETS_ENTRY_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, STRING, key, 1) \
    X(a, STATIC, SINGULAR, UINT64, value, 2)
ENSI_PB_BIND(ensi_pb_consumer_group_topic_offsets_entry, ENSI_PB_CONSUMER_GROUP_TOPIC_OFFSETS_ENTRY, AUTO,
    ensi_pb_field)
#define ensi_pb_consumer_group_topic_offsets_entry_msg ensi_pb_consumer_group_topic_offsets_entry_table.fields
#define ensi_pb_consumer_group_topic_offsets_entry_fields (&ensi_pb_consumer_group_topic_offsets_entry_msg)
enum { ENSI_PB_CONSUMER_GROUP_TOPIC_OFFSETS_ENTRY_KEY_TAG = 1,
    ENSI_PB_CONSUMER_GROUP_TOPIC_OFFSETS_ENTRY_VALUE_TAG = 2 };

typedef struct ensi_pb_consumer_group_t {
    ensign_slice_t id; /* 16 bytes as they are, any other length is hashed */
    ensign_slice_t project_id; /* ULID, 16 bytes */
    ensign_slice_t name; /* hashed to an id if there is none */
    int32_t delivery;
    bool has_delivery_timeout;
    ensi_pb_duration_t delivery_timeout;
    ensign_slice_t topic_offsets; /* by topic name: the last offset that was delivered */
    ensign_slice_t consumers;
    bool has_created;
    ensi_pb_timestamp_t created;
    bool has_modified;
    ensi_pb_timestamp_t modified;
} ensi_pb_consumer_group_t;
#define ENSI_PB_CONSUMER_GROUP_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, BYTES, id, 1) \
    X(a, CALLBACK, SINGULAR, BYTES, project_id, 2) \
    X(a, CALLBACK, SINGULAR, STRING, name, 3) \
    X(a, STATIC, SINGULAR, INT32, delivery, 4) \
    X(a, STATIC, OPTIONAL, MESSAGE, delivery_timeout, 5) \
    X(a, CALLBACK, REPEATED, MESSAGE, topic_offsets, 12) \
    X(a, CALLBACK, REPEATED, BYTES, consumers, 13) \
    X(a, STATIC, OPTIONAL, MESSAGE, created, 14) \
    X(a, STATIC, OPTIONAL, MESSAGE, modified, 15)
#define ensi_pb_consumer_group_t_delivery_timeout_MSGTYPE ensi_pb_duration
#define ensi_pb_consumer_group_t_topic_offsets_MSGTYPE ensi_pb_consumer_group_topic_offsets_entry
#define ensi_pb_consumer_group_t_created_MSGTYPE ensi_pb_timestamp
#define ensi_pb_consumer_group_t_modified_MSGTYPE ensi_pb_timestamp
ENSI_PB_BIND(ensi_pb_consumer_group, ENSI_PB_CONSUMER_GROUP, AUTO, ensi_pb_field)
#define ensi_pb_consumer_group_msg ensi_pb_consumer_group_table.fields
#define ensi_pb_consumer_group_fields (&ensi_pb_consumer_group_msg)
enum { ENSI_PB_CONSUMER_GROUP_TOPIC_OFFSETS_TAG = 12 };

/* One of the five values, and the placeholder that it stands for. In the service's own schema the five are a
   oneof; the bytes on the wire are the same, and a slice has no place in a nanopb oneof. `optional` keeps a
   zero apart from nothing. */
typedef struct ensi_pb_parameter_t {
    bool has_i;
    int64_t i;
    bool has_d;
    double d;
    bool has_b;
    bool b;
    ensign_slice_t y;
    ensign_slice_t s;
    ensign_slice_t name;
} ensi_pb_parameter_t;
#define ENSI_PB_PARAMETER_LIST(X, a) \
    X(a, STATIC, OPTIONAL, SINT64, i, 1) \
    X(a, STATIC, OPTIONAL, DOUBLE, d, 2) \
    X(a, STATIC, OPTIONAL, BOOL, b, 3) \
    X(a, CALLBACK, SINGULAR, BYTES, y, 4) \
    X(a, CALLBACK, SINGULAR, STRING, s, 5) \
    X(a, CALLBACK, SINGULAR, STRING, name, 6)
ENSI_PB_BIND(ensi_pb_parameter, ENSI_PB_PARAMETER, AUTO, ensi_pb_field)
#define ensi_pb_parameter_msg ensi_pb_parameter_table.fields
#define ensi_pb_parameter_fields (&ensi_pb_parameter_msg)

typedef struct ensi_pb_query_t {
    ensign_slice_t query;
    ensign_slice_t params;
    bool include_duplicates;
} ensi_pb_query_t;
#define ENSI_PB_QUERY_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, STRING, query, 1) \
    X(a, CALLBACK, REPEATED, MESSAGE, params, 2) \
    X(a, STATIC, SINGULAR, BOOL, include_duplicates, 3)
#define ensi_pb_query_t_params_MSGTYPE ensi_pb_parameter
ENSI_PB_BIND(ensi_pb_query, ENSI_PB_QUERY, AUTO, ensi_pb_field)
#define ensi_pb_query_msg ensi_pb_query_table.fields
#define ensi_pb_query_fields (&ensi_pb_query_msg)
enum { ENSI_PB_QUERY_PARAMS_TAG = 2 };

/* The public service answers Explain with UNIMPLEMENTED. With ensignd the text of the status tells the
   plan. */
typedef struct ensi_pb_query_explanation_t {
    char dummy_field;
} ensi_pb_query_explanation_t;
#define ENSI_PB_QUERY_EXPLANATION_LIST(X, a)
ENSI_PB_BIND(ensi_pb_query_explanation, ENSI_PB_QUERY_EXPLANATION, AUTO, NULL)
#define ensi_pb_query_explanation_msg ensi_pb_query_explanation_table.fields
#define ensi_pb_query_explanation_fields (&ensi_pb_query_explanation_msg)

typedef struct ensi_pb_ack_t {
    ensign_slice_t id; /* to a publisher its local_id, from a subscriber the RLID */
    bool has_committed;
    ensi_pb_timestamp_t committed; /* to a publisher only */
} ensi_pb_ack_t;
#define ENSI_PB_ACK_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, BYTES, id, 1) \
    X(a, STATIC, OPTIONAL, MESSAGE, committed, 2)
#define ensi_pb_ack_t_committed_MSGTYPE ensi_pb_timestamp
ENSI_PB_BIND(ensi_pb_ack, ENSI_PB_ACK, AUTO, ensi_pb_field)
#define ensi_pb_ack_msg ensi_pb_ack_table.fields
#define ensi_pb_ack_fields (&ensi_pb_ack_msg)
enum { ENSI_PB_ACK_ID_TAG = 1, ENSI_PB_ACK_COMMITTED_TAG = 2 };

typedef struct ensi_pb_nack_t {
    ensign_slice_t id; /* as in Ack */
    int32_t code;
    ensign_slice_t error; /* words for a person */
} ensi_pb_nack_t;
#define ENSI_PB_NACK_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, BYTES, id, 1) \
    X(a, STATIC, SINGULAR, INT32, code, 2) \
    X(a, CALLBACK, SINGULAR, STRING, error, 3)
ENSI_PB_BIND(ensi_pb_nack, ENSI_PB_NACK, AUTO, ensi_pb_field)
#define ensi_pb_nack_msg ensi_pb_nack_table.fields
#define ensi_pb_nack_fields (&ensi_pb_nack_msg)

typedef struct ensi_pb_open_stream_t {
    ensign_slice_t client_id; /* name of the publishing program */
    ensign_slice_t topics; /* names, ULID texts or hashes; none: all of the project */
} ensi_pb_open_stream_t;
#define ENSI_PB_OPEN_STREAM_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, STRING, client_id, 1) \
    X(a, CALLBACK, REPEATED, STRING, topics, 2)
ENSI_PB_BIND(ensi_pb_open_stream, ENSI_PB_OPEN_STREAM, AUTO, ensi_pb_field)
#define ensi_pb_open_stream_msg ensi_pb_open_stream_table.fields
#define ensi_pb_open_stream_fields (&ensi_pb_open_stream_msg)
enum { ENSI_PB_OPEN_STREAM_TOPICS_TAG = 2 };

/* One of the two; open_stream comes first and once. */
typedef struct ensi_pb_publisher_request_t {
    bool has_event;
    ensi_pb_event_wrapper_t event;
    bool has_open_stream;
    ensi_pb_open_stream_t open_stream;
} ensi_pb_publisher_request_t;
#define ENSI_PB_PUBLISHER_REQUEST_LIST(X, a) \
    X(a, STATIC, OPTIONAL, MESSAGE, event, 1) \
    X(a, STATIC, OPTIONAL, MESSAGE, open_stream, 2)
#define ensi_pb_publisher_request_t_event_MSGTYPE ensi_pb_event_wrapper
#define ensi_pb_publisher_request_t_open_stream_MSGTYPE ensi_pb_open_stream
ENSI_PB_BIND(ensi_pb_publisher_request, ENSI_PB_PUBLISHER_REQUEST, 2, NULL)
#define ensi_pb_publisher_request_msg ensi_pb_publisher_request_table.fields
#define ensi_pb_publisher_request_fields (&ensi_pb_publisher_request_msg)
enum { ENSI_PB_PUBLISHER_REQUEST_EVENT_TAG = 1 };

typedef struct ensi_pb_close_stream_t {
    uint64_t events;
    uint64_t topics; /* different ones among the events */
    uint64_t acks;
    uint64_t nacks;
} ensi_pb_close_stream_t;
#define ENSI_PB_CLOSE_STREAM_LIST(X, a) \
    X(a, STATIC, SINGULAR, UINT64, events, 1) \
    X(a, STATIC, SINGULAR, UINT64, topics, 2) \
    X(a, STATIC, SINGULAR, UINT64, acks, 3) \
    X(a, STATIC, SINGULAR, UINT64, nacks, 4)
ENSI_PB_BIND(ensi_pb_close_stream, ENSI_PB_CLOSE_STREAM, AUTO, NULL)
#define ensi_pb_close_stream_msg ensi_pb_close_stream_table.fields
#define ensi_pb_close_stream_fields (&ensi_pb_close_stream_msg)

typedef struct ensi_pb_stream_ready_topics_entry_t {
    ensign_slice_t key;
    ensign_slice_t value;
} ensi_pb_stream_ready_topics_entry_t;
#define ENSI_PB_STREAM_READY_TOPICS_ENTRY_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, STRING, key, 1) \
    X(a, CALLBACK, SINGULAR, BYTES, value, 2)
ENSI_PB_BIND(ensi_pb_stream_ready_topics_entry, ENSI_PB_STREAM_READY_TOPICS_ENTRY, AUTO, ensi_pb_field)
#define ensi_pb_stream_ready_topics_entry_msg ensi_pb_stream_ready_topics_entry_table.fields
#define ensi_pb_stream_ready_topics_entry_fields (&ensi_pb_stream_ready_topics_entry_msg)

typedef struct ensi_pb_stream_ready_t {
    ensign_slice_t client_id;
    ensign_slice_t server_id; /* name of the node; may be empty */
    ensign_slice_t topics; /* name to ULID, 16 bytes */
} ensi_pb_stream_ready_t;
#define ENSI_PB_STREAM_READY_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, STRING, client_id, 1) \
    X(a, CALLBACK, SINGULAR, STRING, server_id, 2) \
    X(a, CALLBACK, REPEATED, MESSAGE, topics, 3)
#define ensi_pb_stream_ready_t_topics_MSGTYPE ensi_pb_stream_ready_topics_entry
ENSI_PB_BIND(ensi_pb_stream_ready, ENSI_PB_STREAM_READY, AUTO, ensi_pb_field)
#define ensi_pb_stream_ready_msg ensi_pb_stream_ready_table.fields
#define ensi_pb_stream_ready_fields (&ensi_pb_stream_ready_msg)
enum { ENSI_PB_STREAM_READY_TOPICS_TAG = 3 };

/* One of the four. */
typedef struct ensi_pb_publisher_reply_t {
    bool has_ack;
    ensi_pb_ack_t ack;
    bool has_nack;
    ensi_pb_nack_t nack;
    bool has_ready;
    ensi_pb_stream_ready_t ready;
    bool has_close_stream;
    ensi_pb_close_stream_t close_stream;
} ensi_pb_publisher_reply_t;
#define ENSI_PB_PUBLISHER_REPLY_LIST(X, a) \
    X(a, STATIC, OPTIONAL, MESSAGE, ack, 1) \
    X(a, STATIC, OPTIONAL, MESSAGE, nack, 2) \
    X(a, STATIC, OPTIONAL, MESSAGE, ready, 3) \
    X(a, STATIC, OPTIONAL, MESSAGE, close_stream, 4)
#define ensi_pb_publisher_reply_t_ack_MSGTYPE ensi_pb_ack
#define ensi_pb_publisher_reply_t_nack_MSGTYPE ensi_pb_nack
#define ensi_pb_publisher_reply_t_ready_MSGTYPE ensi_pb_stream_ready
#define ensi_pb_publisher_reply_t_close_stream_MSGTYPE ensi_pb_close_stream
ENSI_PB_BIND(ensi_pb_publisher_reply, ENSI_PB_PUBLISHER_REPLY, AUTO, NULL)
#define ensi_pb_publisher_reply_msg ensi_pb_publisher_reply_table.fields
#define ensi_pb_publisher_reply_fields (&ensi_pb_publisher_reply_msg)
enum { ENSI_PB_PUBLISHER_REPLY_ACK_TAG = 1 };

/* One of the three; close_stream is never sent here. */
typedef struct ensi_pb_subscribe_reply_t {
    bool has_event;
    ensi_pb_event_wrapper_t event;
    bool has_ready;
    ensi_pb_stream_ready_t ready;
    bool has_close_stream;
    ensi_pb_close_stream_t close_stream;
} ensi_pb_subscribe_reply_t;
#define ENSI_PB_SUBSCRIBE_REPLY_LIST(X, a) \
    X(a, STATIC, OPTIONAL, MESSAGE, event, 1) \
    X(a, STATIC, OPTIONAL, MESSAGE, ready, 2) \
    X(a, STATIC, OPTIONAL, MESSAGE, close_stream, 3)
#define ensi_pb_subscribe_reply_t_event_MSGTYPE ensi_pb_event_wrapper
#define ensi_pb_subscribe_reply_t_ready_MSGTYPE ensi_pb_stream_ready
#define ensi_pb_subscribe_reply_t_close_stream_MSGTYPE ensi_pb_close_stream
ENSI_PB_BIND(ensi_pb_subscribe_reply, ENSI_PB_SUBSCRIBE_REPLY, 2, NULL)
#define ensi_pb_subscribe_reply_msg ensi_pb_subscribe_reply_table.fields
#define ensi_pb_subscribe_reply_fields (&ensi_pb_subscribe_reply_msg)
enum { ENSI_PB_SUBSCRIBE_REPLY_EVENT_TAG = 1 };

typedef struct ensi_pb_subscription_t {
    ensign_slice_t client_id;
    ensign_slice_t topics; /* names, ULID texts or hashes; none: all of the project */
    bool has_query;
    ensi_pb_query_t query; /* read by ensignd alone */
    bool has_group;
    ensi_pb_consumer_group_t group; /* read by ensignd alone */
} ensi_pb_subscription_t;
#define ENSI_PB_SUBSCRIPTION_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, STRING, client_id, 1) \
    X(a, CALLBACK, REPEATED, STRING, topics, 2) \
    X(a, STATIC, OPTIONAL, MESSAGE, query, 3) \
    X(a, STATIC, OPTIONAL, MESSAGE, group, 4)
#define ensi_pb_subscription_t_query_MSGTYPE ensi_pb_query
#define ensi_pb_subscription_t_group_MSGTYPE ensi_pb_consumer_group
ENSI_PB_BIND(ensi_pb_subscription, ENSI_PB_SUBSCRIPTION, AUTO, ensi_pb_field)
#define ensi_pb_subscription_msg ensi_pb_subscription_table.fields
#define ensi_pb_subscription_fields (&ensi_pb_subscription_msg)
enum { ENSI_PB_SUBSCRIPTION_TOPICS_TAG = 2 };

/* One of the three; subscription comes first and once. */
typedef struct ensi_pb_subscribe_request_t {
    bool has_ack;
    ensi_pb_ack_t ack;
    bool has_nack;
    ensi_pb_nack_t nack;
    bool has_subscription;
    ensi_pb_subscription_t subscription;
} ensi_pb_subscribe_request_t;
#define ENSI_PB_SUBSCRIBE_REQUEST_LIST(X, a) \
    X(a, STATIC, OPTIONAL, MESSAGE, ack, 1) \
    X(a, STATIC, OPTIONAL, MESSAGE, nack, 2) \
    X(a, STATIC, OPTIONAL, MESSAGE, subscription, 3)
#define ensi_pb_subscribe_request_t_ack_MSGTYPE ensi_pb_ack
#define ensi_pb_subscribe_request_t_nack_MSGTYPE ensi_pb_nack
#define ensi_pb_subscribe_request_t_subscription_MSGTYPE ensi_pb_subscription
ENSI_PB_BIND(ensi_pb_subscribe_request, ENSI_PB_SUBSCRIBE_REQUEST, 2, NULL)
#define ensi_pb_subscribe_request_msg ensi_pb_subscribe_request_table.fields
#define ensi_pb_subscribe_request_fields (&ensi_pb_subscribe_request_msg)
enum { ENSI_PB_SUBSCRIBE_REQUEST_ACK_TAG = 1 };

typedef struct ensi_pb_info_request_t {
    ensign_slice_t topics; /* ULIDs of 16 bytes; none: all */
} ensi_pb_info_request_t;
#define ENSI_PB_INFO_REQUEST_LIST(X, a) \
    X(a, CALLBACK, REPEATED, BYTES, topics, 1)
ENSI_PB_BIND(ensi_pb_info_request, ENSI_PB_INFO_REQUEST, AUTO, ensi_pb_field)
#define ensi_pb_info_request_msg ensi_pb_info_request_table.fields
#define ensi_pb_info_request_fields (&ensi_pb_info_request_msg)
enum { ENSI_PB_INFO_REQUEST_TOPICS_TAG = 1 };

typedef struct ensi_pb_project_info_t {
    ensign_slice_t project_id; /* ULID, 16 bytes */
    uint64_t num_topics;
    uint64_t num_readonly_topics;
    uint64_t events; /* this and the next two: sums over the topics */
    uint64_t duplicates;
    uint64_t data_size_bytes;
    ensign_slice_t topics;
} ensi_pb_project_info_t;
#define ENSI_PB_PROJECT_INFO_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, BYTES, project_id, 1) \
    X(a, STATIC, SINGULAR, UINT64, num_topics, 2) \
    X(a, STATIC, SINGULAR, UINT64, num_readonly_topics, 3) \
    X(a, STATIC, SINGULAR, UINT64, events, 7) \
    X(a, STATIC, SINGULAR, UINT64, duplicates, 8) \
    X(a, STATIC, SINGULAR, UINT64, data_size_bytes, 9) \
    X(a, CALLBACK, REPEATED, MESSAGE, topics, 15)
#define ensi_pb_project_info_t_topics_MSGTYPE ensi_pb_topic_info
ENSI_PB_BIND(ensi_pb_project_info, ENSI_PB_PROJECT_INFO, AUTO, ensi_pb_field)
#define ensi_pb_project_info_msg ensi_pb_project_info_table.fields
#define ensi_pb_project_info_fields (&ensi_pb_project_info_msg)
enum { ENSI_PB_PROJECT_INFO_TOPICS_TAG = 15 };

typedef struct ensi_pb_health_check_t {
    uint32_t attempts; /* failed checks so far; ignored */
    bool has_last_checked_at;
    ensi_pb_timestamp_t last_checked_at; /* ignored */
} ensi_pb_health_check_t;
#define ENSI_PB_HEALTH_CHECK_LIST(X, a) \
    X(a, STATIC, SINGULAR, UINT32, attempts, 1) \
    X(a, STATIC, OPTIONAL, MESSAGE, last_checked_at, 2)
#define ensi_pb_health_check_t_last_checked_at_MSGTYPE ensi_pb_timestamp
ENSI_PB_BIND(ensi_pb_health_check, ENSI_PB_HEALTH_CHECK, AUTO, NULL)
#define ensi_pb_health_check_msg ensi_pb_health_check_table.fields
#define ensi_pb_health_check_fields (&ensi_pb_health_check_msg)

typedef struct ensi_pb_service_state_t {
    int32_t status;
    ensign_slice_t version;
    bool has_uptime;
    ensi_pb_duration_t uptime;
    bool has_not_before;
    ensi_pb_timestamp_t not_before; /* when to ask again: earliest */
    bool has_not_after;
    ensi_pb_timestamp_t not_after; /* and latest */
} ensi_pb_service_state_t;
#define ENSI_PB_SERVICE_STATE_LIST(X, a) \
    X(a, STATIC, SINGULAR, INT32, status, 1) \
    X(a, CALLBACK, SINGULAR, STRING, version, 2) \
    X(a, STATIC, OPTIONAL, MESSAGE, uptime, 3) \
    X(a, STATIC, OPTIONAL, MESSAGE, not_before, 4) \
    X(a, STATIC, OPTIONAL, MESSAGE, not_after, 5)
#define ensi_pb_service_state_t_uptime_MSGTYPE ensi_pb_duration
#define ensi_pb_service_state_t_not_before_MSGTYPE ensi_pb_timestamp
#define ensi_pb_service_state_t_not_after_MSGTYPE ensi_pb_timestamp
ENSI_PB_BIND(ensi_pb_service_state, ENSI_PB_SERVICE_STATE, AUTO, ensi_pb_field)
#define ensi_pb_service_state_msg ensi_pb_service_state_table.fields
#define ensi_pb_service_state_fields (&ensi_pb_service_state_msg)

typedef struct ensi_pb_page_info_t {
    uint32_t page_size; /* 0: the server's 100 */
    ensign_slice_t next_page_token; /* of the page before */
} ensi_pb_page_info_t;
#define ENSI_PB_PAGE_INFO_LIST(X, a) \
    X(a, STATIC, SINGULAR, UINT32, page_size, 1) \
    X(a, CALLBACK, SINGULAR, STRING, next_page_token, 2)
ENSI_PB_BIND(ensi_pb_page_info, ENSI_PB_PAGE_INFO, AUTO, ensi_pb_field)
#define ensi_pb_page_info_msg ensi_pb_page_info_table.fields
#define ensi_pb_page_info_fields (&ensi_pb_page_info_msg)

typedef struct ensi_pb_health_check_request_t {
    ensign_slice_t service; /* empty: the server as a whole */
} ensi_pb_health_check_request_t;
#define ENSI_PB_HEALTH_CHECK_REQUEST_LIST(X, a) \
    X(a, CALLBACK, SINGULAR, STRING, service, 1)
ENSI_PB_BIND(ensi_pb_health_check_request, ENSI_PB_HEALTH_CHECK_REQUEST, AUTO, ensi_pb_field)
#define ensi_pb_health_check_request_msg ensi_pb_health_check_request_table.fields
#define ensi_pb_health_check_request_fields (&ensi_pb_health_check_request_msg)

typedef struct ensi_pb_health_check_response_t {
    int32_t status;
} ensi_pb_health_check_response_t;
#define ENSI_PB_HEALTH_CHECK_RESPONSE_LIST(X, a) \
    X(a, STATIC, SINGULAR, INT32, status, 1)
ENSI_PB_BIND(ensi_pb_health_check_response, ENSI_PB_HEALTH_CHECK_RESPONSE, AUTO, NULL)
#define ensi_pb_health_check_response_msg ensi_pb_health_check_response_table.fields
#define ensi_pb_health_check_response_fields (&ensi_pb_health_check_response_msg)
// END GENERATED

/* A PublisherReply: ack { id "ab", committed -1 s, 5 ns }, ready { server_id "n", topics "t": 7 }. */
static const uint8_t ensi_pb_sample[] = {
    0x0A, 0x13, 0x0A, 2, 'a', 'b', 0x12, 0x0D, 0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1,
    0x10, 5,
    0x1A, 0x0B, 0x12, 1, 'n', 0x1A, 6, 0x0A, 1, 't', 0x12, 1, 7
};

/* The map of the sample, and the same entry from the writer. */
static bool ensi_pb_check_span(ensign_slice_t topics)
{
    ensi_pb_stream_ready_topics_entry_t entry;
    ensign_slice_t value;
    uint8_t again[8], *p = again;
    size_t at = 0;

    if (!ensi_pb_span_next(topics, ENSI_PB_STREAM_READY_TOPICS_TAG, &at, &value)) return false;
    if (!ensi_pb_decode(ensi_pb_stream_ready_topics_entry_fields, &entry, value.ptr, value.len)) return false;
    if (value.len != ensi_pb_bytes_size(1, entry.key.len) + ensi_pb_bytes_size(2, entry.value.len))
        return false;
    p = ensi_pb_put_bytes(p, 1, entry.key);
    p = ensi_pb_put_bytes(p, 2, entry.value);
    return (size_t)(p - again) == value.len && memcmp(again, value.ptr, value.len) == 0 &&
           !ensi_pb_span_next(topics, ENSI_PB_STREAM_READY_TOPICS_TAG, &at, &value);
}

/* True if the library that was linked goes with the header that was included: the sample is read and written
 * as it must be, and a submessage with a number in the place of bytes is refused. */
static bool ensi_pb_check(void)
{
    static const uint8_t wrong[] = { 0x0A, 2, 0x08, 1 };
    const pb_msgdesc_t *fields = ensi_pb_publisher_reply_fields;
    ensi_pb_publisher_reply_t m;
    uint8_t again[sizeof ensi_pb_sample];
    size_t size, len;

    if (ensi_pb_decode(fields, &m, wrong, sizeof wrong)) return false;
    if (!ensi_pb_decode(fields, &m, ensi_pb_sample, sizeof ensi_pb_sample)) return false;
    if (!m.has_ack || m.ack.id.ptr != ensi_pb_sample + 4 || m.ack.id.len != 2) return false;
    if (!m.ack.has_committed || m.ack.committed.seconds != -1 || m.ack.committed.nanos != 5) return false;
    if (m.has_nack || !m.has_ready || !ensi_pb_check_span(m.ready.topics)) return false;
    if (!ensi_pb_size(fields, &m, &size) || size != sizeof again) return false;
    return ensi_pb_encode(fields, &m, again, sizeof again, &len) && len == size &&
           memcmp(again, ensi_pb_sample, len) == 0;
}

/* >>wire   may call: util pb
 *          open to: pub
 * The hot messages by hand: an event to publish, its answer; a received event, its ack
 *
 * Owns   nothing.
 * Holds  what is read here is what nanopb reads in the same bytes, and what is written are the bytes that
 *        nanopb writes: tests/unit/wire.c and tests/fuzz/fuzz_wire.c compare them.
 *        The readers take what protobuf's own writers write: known fields in the order of their tags, each
 *        in its wire type and once, and varints that are as short as they can be. All else is unusual, and
 *        nanopb decides on it.
 * Moves  reading: a cursor goes over the fields in their order, and must be at the end behind the last one.
 *        writing: the sizes of all parts are measured first, then the parts are written front to back.
 * Fails  with false for what is unusual; the output may be half filled then. */

/* A field's key is its tag and wire type. All known tags but that of local_id, which no server sends, are
 * below 16, so that a key is one byte. */
#define ENSI_WIRE_NUMBER(tag) ((tag) << 3 | PB_WT_VARINT)
#define ENSI_WIRE_BYTES(tag) ((tag) << 3 | PB_WT_STRING)

/* Where a reader stands in a message, which may be empty. */
typedef struct ensi_wire_t { const uint8_t *at, *end; } ensi_wire_t;

static inline ensi_wire_t ensi_wire_open(ensign_slice_t message)
{
    ensi_wire_t w;
    w.at = message.ptr;
    w.end = message.ptr + message.len;
    return w;
}

/* Takes the key of the next field, if it is this one. */
static inline bool ensi_wire_is(ensi_wire_t *w, unsigned key)
{
    if (w->at == w->end || *w->at != key) return false;
    w->at++;
    return true;
}

/* A varint of two bytes or more. An overlong one is unusual, and so is one of ten bytes, as a negative number
 * has. */
static bool ensi_wire_long_varint(ensi_wire_t *w, uint64_t *value)
{
    const uint8_t *p = w->at;
    uint64_t v = 0;
    unsigned shift = 0;
    do {
        if (p == w->end || shift > 56) return false;
        v |= (uint64_t)(*p & 0x7F) << shift;
        shift += 7;
    } while (*p++ >= 0x80);
    w->at = p;
    *value = v;
    return p[-1] != 0;
}

static inline bool ensi_wire_varint(ensi_wire_t *w, uint64_t *value)
{
    if (w->at == w->end || *w->at >= 0x80) return ensi_wire_long_varint(w, value);
    *value = *w->at++;
    return true;
}

/* ---- reading: true if the field is absent, or was read */

static inline bool ensi_wire_number(ensi_wire_t *w, unsigned tag, uint64_t max, uint64_t *value)
{
    if (!ensi_wire_is(w, ENSI_WIRE_NUMBER(tag))) return true;
    return ensi_wire_varint(w, value) && *value <= max;
}

static inline bool ensi_wire_int32(ensi_wire_t *w, unsigned tag, int32_t *value)
{
    uint64_t v = 0;
    if (!ensi_wire_number(w, tag, INT32_MAX, &v)) return false;
    *value = (int32_t)v;
    return true;
}

static inline bool ensi_wire_uint32(ensi_wire_t *w, unsigned tag, uint32_t *value)
{
    uint64_t v = 0;
    if (!ensi_wire_number(w, tag, UINT32_MAX, &v)) return false;
    *value = (uint32_t)v;
    return true;
}

static inline bool ensi_wire_bytes(ensi_wire_t *w, unsigned tag, ensign_slice_t *bytes)
{
    uint64_t len;
    if (!ensi_wire_is(w, ENSI_WIRE_BYTES(tag))) return true;
    if (!ensi_wire_varint(w, &len) || len > (uint64_t)(w->end - w->at)) return false;
    bytes->ptr = w->at;
    bytes->len = (size_t)len;
    w->at += len;
    return true;
}

/* An id of another size is left out. */
static inline bool ensi_wire_id(ensi_wire_t *w, unsigned tag, uint8_t *id, size_t size)
{
    ensign_slice_t bytes = { NULL, 0 };
    if (!ensi_wire_bytes(w, tag, &bytes)) return false;
    if (bytes.len == size) memcpy(id, bytes.ptr, size);
    return true;
}

/* A varint of four or five bytes, as short as it can be. */
static inline bool ensi_wire_fixed(const uint8_t *p, size_t size, uint64_t *value)
{
    uint32_t four = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    uint32_t more = size == 5 ? 0x80808080u : 0x808080u; /* the bytes behind which another one comes */
    unsigned last = p[size - 1];
    *value = (four & 0x7Fu) | (four >> 1 & 0x3F80u) | (four >> 2 & 0x1FC000u) | (four >> 3 & 0xFE00000u);
    if (size == 5) *value |= (uint64_t)last << 28;
    return (four & more) == more && last - 1u < 0x7F;
}

/* A Timestamp in its usual form: these years' seconds take five bytes, and nearly all nanoseconds five or
 * four. */
static inline bool ensi_wire_usual_time(ensign_slice_t bytes, ensign_time_t *t)
{
    const uint8_t *p = bytes.ptr;
    uint64_t seconds, nanos;
    if ((bytes.len != 12 && bytes.len != 11) || p[0] != ENSI_WIRE_NUMBER(ENSI_PB_TIMESTAMP_SECONDS_TAG) ||
        p[6] != ENSI_WIRE_NUMBER(ENSI_PB_TIMESTAMP_NANOS_TAG) || !ensi_wire_fixed(p + 1, 5, &seconds) ||
        !ensi_wire_fixed(p + 7, bytes.len - 7, &nanos) || nanos > INT32_MAX)
        return false;
    t->seconds = (int64_t)seconds;
    t->nanos = (int32_t)nanos;
    return true;
}

static bool ensi_wire_time(ensi_wire_t *outer, unsigned tag, ensign_time_t *t)
{
    ensign_slice_t bytes = { NULL, 0 };
    ensi_wire_t w;
    uint64_t seconds = 0;
    if (!ensi_wire_bytes(outer, tag, &bytes)) return false;
    if (!bytes.ptr || ensi_wire_usual_time(bytes, t)) return true;
    w = ensi_wire_open(bytes);
    if (!ensi_wire_number(&w, ENSI_PB_TIMESTAMP_SECONDS_TAG, INT64_MAX, &seconds) ||
        !ensi_wire_int32(&w, ENSI_PB_TIMESTAMP_NANOS_TAG, &t->nanos))
        return false;
    t->seconds = (int64_t)seconds;
    return w.at == w.end;
}

/* A PublisherReply that is an Ack, and nothing more. */
static bool ensi_wire_ack(ensign_slice_t reply, ensign_slice_t *id, ensign_time_t *committed)
{
    ensi_wire_t w = ensi_wire_open(reply);
    ensign_slice_t ack = { NULL, 0 };
    if (!ensi_wire_bytes(&w, ENSI_PB_PUBLISHER_REPLY_ACK_TAG, &ack) || !ack.ptr || w.at != w.end)
        return false;
    *id = ensi_slice(NULL, 0);
    committed->seconds = 0;
    committed->nanos = 0;
    w = ensi_wire_open(ack);
    return ensi_wire_bytes(&w, ENSI_PB_ACK_ID_TAG, id) &&
           ensi_wire_time(&w, ENSI_PB_ACK_COMMITTED_TAG, committed) && w.at == w.end;
}

static inline bool ensi_wire_type(ensi_wire_t *outer, ensign_type_t *type)
{
    ensign_slice_t bytes = { NULL, 0 };
    ensi_wire_t w;
    if (!ensi_wire_bytes(outer, ENSI_PB_EVENT_TYPE_TAG, &bytes)) return false;
    if (!bytes.ptr) return true;
    w = ensi_wire_open(bytes);
    return ensi_wire_bytes(&w, ENSI_PB_TYPE_NAME_TAG, &type->name) &&
           ensi_wire_uint32(&w, ENSI_PB_TYPE_MAJOR_VERSION_TAG, &type->major) &&
           ensi_wire_uint32(&w, ENSI_PB_TYPE_MINOR_VERSION_TAG, &type->minor) &&
           ensi_wire_uint32(&w, ENSI_PB_TYPE_PATCH_VERSION_TAG, &type->patch) && w.at == w.end;
}

/* The pairs of an event, which stand side by side, are one span. */
static inline bool ensi_wire_metadata(ensi_wire_t *w, ensign_slice_t *span)
{
    const uint8_t *start = w->at, *from;
    ensign_slice_t pair;
    do {
        from = w->at;
        if (!ensi_wire_bytes(w, ENSI_PB_EVENT_METADATA_TAG, &pair)) return false;
    } while (w->at != from);
    if (w->at != start) *span = ensi_slice(start, (size_t)(w->at - start));
    return true;
}

/* An Event, which its publisher has encoded. */
static bool ensi_wire_content(ensign_slice_t bytes, ensign_event_t *e)
{
    ensi_wire_t w = ensi_wire_open(bytes);
    return ensi_wire_bytes(&w, ENSI_PB_EVENT_DATA_TAG, &e->data) && ensi_wire_metadata(&w, &e->metadata) &&
           ensi_wire_int32(&w, ENSI_PB_EVENT_MIMETYPE_TAG, &e->mimetype) && ensi_wire_type(&w, &e->type) &&
           ensi_wire_time(&w, ENSI_PB_EVENT_CREATED_TAG, &e->created) && w.at == w.end;
}

static inline bool ensi_wire_publisher(ensi_wire_t *outer, ensign_event_t *e)
{
    ensign_slice_t bytes = { NULL, 0 };
    ensi_wire_t w;
    if (!ensi_wire_bytes(outer, ENSI_PB_EVENT_WRAPPER_PUBLISHER_TAG, &bytes)) return false;
    if (!bytes.ptr) return true;
    w = ensi_wire_open(bytes);
    return ensi_wire_bytes(&w, ENSI_PB_PUBLISHER_PUBLISHER_ID_TAG, &e->publisher_id) &&
           ensi_wire_bytes(&w, ENSI_PB_PUBLISHER_IPADDR_TAG, &e->publisher_address) &&
           ensi_wire_bytes(&w, ENSI_PB_PUBLISHER_CLIENT_ID_TAG, &e->publisher_client_id) &&
           ensi_wire_bytes(&w, ENSI_PB_PUBLISHER_USER_AGENT_TAG, &e->publisher_agent) && w.at == w.end;
}

/* An EventWrapper and the Event in it, into `e`, which is zeroed. Encryption, compression and duplicates are
 * unusual. */
static bool ensi_wire_event(ensign_slice_t wrapper, ensign_event_t *e)
{
    ensi_wire_t w = ensi_wire_open(wrapper);
    ensign_slice_t content = { NULL, 0 };
    uint64_t shard;
    int32_t region;
    return ensi_wire_id(&w, ENSI_PB_EVENT_WRAPPER_ID_TAG, e->id.b, sizeof e->id.b) &&
           ensi_wire_id(&w, ENSI_PB_EVENT_WRAPPER_TOPIC_ID_TAG, e->topic_id.b, sizeof e->topic_id.b) &&
           ensi_wire_number(&w, ENSI_PB_EVENT_WRAPPER_OFFSET_TAG, UINT64_MAX, &e->offset) &&
           ensi_wire_number(&w, ENSI_PB_EVENT_WRAPPER_EPOCH_TAG, UINT64_MAX, &e->epoch) &&
           ensi_wire_int32(&w, ENSI_PB_EVENT_WRAPPER_REGION_TAG, &region) && ensi_wire_publisher(&w, e) &&
           ensi_wire_bytes(&w, ENSI_PB_EVENT_WRAPPER_KEY_TAG, &e->key) &&
           ensi_wire_number(&w, ENSI_PB_EVENT_WRAPPER_SHARD_TAG, UINT64_MAX, &shard) &&
           ensi_wire_bytes(&w, ENSI_PB_EVENT_WRAPPER_EVENT_TAG, &content) &&
           ensi_wire_time(&w, ENSI_PB_EVENT_WRAPPER_COMMITTED_TAG, &e->committed) && w.at == w.end &&
           (!content.ptr || ensi_wire_content(content, e));
}

/* The EventWrapper in a SubscribeReply that is an event, and nothing more. */
static inline bool ensi_wire_wrapped(ensign_slice_t reply, ensign_slice_t *wrapper)
{
    ensi_wire_t w = ensi_wire_open(reply);
    wrapper->ptr = NULL;
    return ensi_wire_bytes(&w, ENSI_PB_SUBSCRIBE_REPLY_EVENT_TAG, wrapper) && wrapper->ptr && w.at == w.end;
}

/* ---- writing */

enum { ENSI_WIRE_RLID = 10, ENSI_WIRE_RECEIPT_BYTES = 4 + ENSI_WIRE_RLID };

/* A SubscribeRequest that is the Ack of an event. Returns its end. */
static uint8_t *ensi_wire_put_receipt(uint8_t *p, const uint8_t *rlid)
{
    *p++ = ENSI_WIRE_BYTES(ENSI_PB_SUBSCRIBE_REQUEST_ACK_TAG);
    *p++ = 2 + ENSI_WIRE_RLID;
    *p++ = ENSI_WIRE_BYTES(ENSI_PB_ACK_ID_TAG);
    *p++ = ENSI_WIRE_RLID;
    memcpy(p, rlid, ENSI_WIRE_RLID);
    return p + ENSI_WIRE_RLID;
}

/* An encoded Timestamp. */
typedef struct ensi_wire_stamp_t { uint8_t len, bytes[22]; } ensi_wire_stamp_t;

/* The sizes of what is measured before it is written; a key and a length before each part are not in it. */
typedef struct ensi_wire_sizes_t { size_t type, metadata, event, wrapper, request; } ensi_wire_sizes_t;

enum { ENSI_WIRE_TOPIC_ID = 16, ENSI_WIRE_LOCAL_ID = 16 };

/* A number of 0 is left out, as proto3 does; so are empty bytes. All keys take one byte. */
static inline size_t ensi_wire_number_size(uint64_t v)
{
    return v ? 1 + ensi_pb_varint_size(v) : 0;
}

static inline uint8_t *ensi_wire_put_number(uint8_t *p, uint32_t tag, uint64_t v)
{
    if (v == 0) return p;
    return ensi_pb_put_varint(ensi_pb_put_varint(p, tag << 3), v);
}

static inline size_t ensi_wire_bytes_size(size_t len)
{
    return len ? 1 + ensi_pb_varint_size(len) + len : 0;
}

static inline uint8_t *ensi_wire_put_bytes(uint8_t *p, uint32_t tag, ensign_slice_t bytes)
{
    return bytes.len ? ensi_pb_put_bytes(p, tag, bytes) : p;
}

/* protobuf's int32 and int64: two's complement in 64 bits. */
static inline uint64_t ensi_wire_signed(int64_t v)
{
    return (uint64_t)v;
}

static void ensi_wire_stamp(ensi_wire_stamp_t *out, ensign_time_t t)
{
    uint8_t *p = out->bytes;
    p = ensi_wire_put_number(p, ENSI_PB_TIMESTAMP_SECONDS_TAG, ensi_wire_signed(t.seconds));
    p = ensi_wire_put_number(p, ENSI_PB_TIMESTAMP_NANOS_TAG, ensi_wire_signed(t.nanos));
    out->len = (uint8_t)(p - out->bytes);
}

static size_t ensi_wire_pair_size(const ensign_pair_t *pair)
{
    return ensi_wire_bytes_size(ensign_str(pair->key).len) +
           ensi_wire_bytes_size(ensign_str(pair->value).len);
}

/* Of metadata that is forwarded only the pairs are taken. */
static size_t ensi_wire_metadata_size(const ensign_event_t *e)
{
    ensign_slice_t entry;
    size_t at = 0, size = 0;
    while (ensi_pb_span_next(e->metadata, ENSI_PB_EVENT_METADATA_TAG, &at, &entry))
        size += ensi_pb_bytes_size(ENSI_PB_EVENT_METADATA_TAG, entry.len);
    for (size_t i = 0; i < e->pair_count; i++)
        size += ensi_pb_bytes_size(ENSI_PB_EVENT_METADATA_TAG, ensi_wire_pair_size(&e->pairs[i]));
    return size;
}

static uint8_t *ensi_wire_put_metadata(uint8_t *p, const ensign_event_t *e)
{
    ensign_slice_t entry;
    size_t at = 0;
    while (ensi_pb_span_next(e->metadata, ENSI_PB_EVENT_METADATA_TAG, &at, &entry))
        p = ensi_pb_put_bytes(p, ENSI_PB_EVENT_METADATA_TAG, entry);
    for (size_t i = 0; i < e->pair_count; i++) {
        p = ensi_pb_put_head(p, ENSI_PB_EVENT_METADATA_TAG, ensi_wire_pair_size(&e->pairs[i]));
        p = ensi_wire_put_bytes(p, ENSI_PB_EVENT_METADATA_ENTRY_KEY_TAG, ensign_str(e->pairs[i].key));
        p = ensi_wire_put_bytes(p, ENSI_PB_EVENT_METADATA_ENTRY_VALUE_TAG, ensign_str(e->pairs[i].value));
    }
    return p;
}

/* Measures the PublisherRequest of an event; ensi_wire_put_request writes as many bytes. */
static ensi_wire_sizes_t ensi_wire_measure(const ensign_event_t *e, const ensi_wire_stamp_t *created)
{
    ensi_wire_sizes_t s;
    const ensign_type_t *t = &e->type;
    s.type = ensi_wire_bytes_size(t->name.len) + ensi_wire_number_size(t->major) +
             ensi_wire_number_size(t->minor) + ensi_wire_number_size(t->patch);
    s.metadata = e->metadata.len || e->pair_count ? ensi_wire_metadata_size(e) : 0;
    s.event = ensi_wire_bytes_size(e->data.len) + s.metadata +
              ensi_wire_number_size(ensi_wire_signed(e->mimetype)) + ensi_wire_bytes_size(s.type) +
              ensi_wire_bytes_size(created->len);
    s.wrapper = ensi_pb_bytes_size(ENSI_PB_EVENT_WRAPPER_TOPIC_ID_TAG, ENSI_WIRE_TOPIC_ID) +
                ensi_wire_bytes_size(e->key.len) + ensi_wire_bytes_size(s.event) +
                ensi_wire_bytes_size(e->encryption.len) + ensi_wire_bytes_size(e->compression.len) +
                ensi_pb_bytes_size(ENSI_PB_EVENT_WRAPPER_LOCAL_ID_TAG, ENSI_WIRE_LOCAL_ID);
    s.request = 1 + ensi_pb_varint_size(s.wrapper) + s.wrapper;
    return s;
}

static inline uint8_t *ensi_wire_put_event(uint8_t *p, const ensign_event_t *e, const ensi_wire_sizes_t *s,
                                           const ensi_wire_stamp_t *created)
{
    p = ensi_wire_put_bytes(p, ENSI_PB_EVENT_DATA_TAG, e->data);
    if (s->metadata) p = ensi_wire_put_metadata(p, e);
    p = ensi_wire_put_number(p, ENSI_PB_EVENT_MIMETYPE_TAG, ensi_wire_signed(e->mimetype));
    if (s->type) {
        p = ensi_pb_put_head(p, ENSI_PB_EVENT_TYPE_TAG, s->type);
        p = ensi_wire_put_bytes(p, ENSI_PB_TYPE_NAME_TAG, e->type.name);
        p = ensi_wire_put_number(p, ENSI_PB_TYPE_MAJOR_VERSION_TAG, e->type.major);
        p = ensi_wire_put_number(p, ENSI_PB_TYPE_MINOR_VERSION_TAG, e->type.minor);
        p = ensi_wire_put_number(p, ENSI_PB_TYPE_PATCH_VERSION_TAG, e->type.patch);
    }
    return ensi_wire_put_bytes(p, ENSI_PB_EVENT_CREATED_TAG, ensi_slice(created->bytes, created->len));
}

/* Writes a PublisherRequest with an event; the id of its topic lies behind the heads of wrapper and id. */
static void ensi_wire_put_request(uint8_t *p, const ensign_event_t *e, const ensi_wire_sizes_t *s,
                                  const ensi_wire_stamp_t *created, const uint8_t *local_id)
{
    p = ensi_pb_put_head(p, ENSI_PB_PUBLISHER_REQUEST_EVENT_TAG, s->wrapper);
    p = ensi_pb_put_head(p, ENSI_PB_EVENT_WRAPPER_TOPIC_ID_TAG, ENSI_WIRE_TOPIC_ID);
    memcpy(p, e->to_topic_id.b, ENSI_WIRE_TOPIC_ID);
    p = ensi_wire_put_bytes(p + ENSI_WIRE_TOPIC_ID, ENSI_PB_EVENT_WRAPPER_KEY_TAG, e->key);
    if (s->event) {
        p = ensi_pb_put_head(p, ENSI_PB_EVENT_WRAPPER_EVENT_TAG, s->event);
        p = ensi_wire_put_event(p, e, s, created);
    }
    p = ensi_wire_put_bytes(p, ENSI_PB_EVENT_WRAPPER_ENCRYPTION_TAG, e->encryption);
    p = ensi_wire_put_bytes(p, ENSI_PB_EVENT_WRAPPER_COMPRESSION_TAG, e->compression);
    p = ensi_pb_put_head(p, ENSI_PB_EVENT_WRAPPER_LOCAL_ID_TAG, ENSI_WIRE_LOCAL_ID);
    memcpy(p, local_id, ENSI_WIRE_LOCAL_ID);
}
#endif /* ENSIGN_NO_SERVICE */

/* >>id   may call: util pb
 * Identifiers, MIME types, versions, metadata, and an event as text
 *
 * Owns   nothing: pure functions and constant tables.
 * Holds  no output is touched before all of the input was found good (ensi_text_t apart: it counts what
 *        does not fit and goes on counting);
 *        metadata comes from a peer: each length is checked against what is left before it is used.
 * Fails  E_FORMAT for text that does not parse. Malformed metadata ends an iteration, it is no error: the
 *        event itself was delivered and stays readable. */

/* ---- ULID, RLID: one big-endian number in base 32. `pad` is by how many bits the text is longer than it. */

#define ENSI_ID_UPPER "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
#define ENSI_ID_LOWER "0123456789abcdefghjkmnpqrstvwxyz"

static void ensi_id_base32_put(const uint8_t *in, size_t n, unsigned pad, const char *alphabet, char *out)
{
    uint32_t acc = 0;
    unsigned bits = pad;

    for (size_t i = 0; i < n; i++) {
        acc = (acc << 8) | in[i];
        bits += 8;
        while (bits >= 5) {
            bits -= 5;
            *out++ = alphabet[(acc >> bits) & 31];
        }
    }
    *out = '\0';
}

static int ensi_id_base32_get(ensign_slice_t text, size_t chars, unsigned pad, void *out)
{
    uint8_t id[16];
    size_t n = 0;
    uint32_t acc = 0;
    unsigned bits = 0;

    if (!out) return ENSIGN_E_ARGUMENT;
    if (text.len != chars) return ENSIGN_E_FORMAT;
    for (size_t i = 0; i < chars; i++) {
        const char *at = (const char *)memchr(ENSI_ID_LOWER, ensi_lower(text.ptr[i]), 32);
        uint32_t digit;
        if (!at) return ENSIGN_E_FORMAT;
        digit = (uint32_t)(at - ENSI_ID_LOWER);
        if (i == 0 && digit >> (5 - pad) != 0) return ENSIGN_E_FORMAT; /* larger than the number can be */
        acc = (acc << 5) | digit;
        bits += i == 0 ? 5 - pad : 5;
        if (bits >= 8) {
            bits -= 8;
            id[n++] = (uint8_t)(acc >> bits);
        }
    }
    memcpy(out, id, n);
    return ENSIGN_OK;
}

int ensign_ulid_parse(ensign_slice_t text, ensign_ulid_t *out)
{
    return ensi_id_base32_get(text, 26, 2, out);
}

void ensign_ulid_text(ensign_ulid_t id, char out[27])
{
    ensi_id_base32_put(id.b, sizeof id.b, 2, ENSI_ID_UPPER, out);
}

int ensign_rlid_parse(ensign_slice_t text, ensign_rlid_t *out)
{
    return ensi_id_base32_get(text, 16, 0, out);
}

void ensign_rlid_text(ensign_rlid_t id, char out[17])
{
    ensi_id_base32_put(id.b, sizeof id.b, 0, ENSI_ID_LOWER, out);
}

/* `ms` is Unix time; what is over 48 bits is dropped, so that the id stays one. */
static ensign_ulid_t ensi_id_ulid_make(uint64_t ms, const uint8_t random[10])
{
    ensign_ulid_t id;

    for (unsigned i = 0; i < 6; i++) id.b[i] = (uint8_t)(ms >> (40 - 8 * i));
    memcpy(id.b + 6, random, 10);
    return id;
}

#ifndef ENSIGN_NO_SERVICE

/* ---- names of numbers */

typedef struct { int number; const char *name; } ensi_id_name_t;

/* Of several names of a number the first. NULL: it has none. */
static const char *ensi_id_name(const ensi_id_name_t *list, size_t count, int number)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].number == number) return list[i].name;
    return NULL;
}

/* ---- MIME types */

static const ensi_id_name_t ensi_id_mimes[] = {
    { ENSIGN_MIME_APPLICATION_OCTET_STREAM, "application/octet-stream" },
    { ENSIGN_MIME_TEXT_PLAIN, "text/plain" },
    { ENSIGN_MIME_TEXT_CSV, "text/csv" },
    { ENSIGN_MIME_TEXT_HTML, "text/html" },
    { ENSIGN_MIME_TEXT_CALENDAR, "text/calendar" },
    { ENSIGN_MIME_APPLICATION_JSON, "application/json" },
    { ENSIGN_MIME_APPLICATION_JSON_LD, "application/ld+json" },
    { ENSIGN_MIME_APPLICATION_JSON_LINES, "application/jsonlines" },
    { ENSIGN_MIME_APPLICATION_UBJSON, "application/ubjson" },
    { ENSIGN_MIME_APPLICATION_BSON, "application/bson" },
    { ENSIGN_MIME_APPLICATION_XML, "application/xml" },
    { ENSIGN_MIME_APPLICATION_ATOM, "application/atom+xml" },
    { ENSIGN_MIME_APPLICATION_MSGPACK, "application/msgpack" },
    { ENSIGN_MIME_APPLICATION_PARQUET, "application/parquet" },
    { ENSIGN_MIME_APPLICATION_AVRO, "application/avro" },
    { ENSIGN_MIME_APPLICATION_PROTOBUF, "application/protobuf" },
    { ENSIGN_MIME_APPLICATION_PDF, "application/pdf" },
    { ENSIGN_MIME_APPLICATION_JAVA_ARCHIVE, "application/java-archive" },
    { ENSIGN_MIME_APPLICATION_PYTHON_PICKLE, "application/python-pickle" },
    { ENSIGN_MIME_USER_SPECIFIED0, "user/format-0" }, { ENSIGN_MIME_USER_SPECIFIED1, "user/format-1" },
    { ENSIGN_MIME_USER_SPECIFIED2, "user/format-2" }, { ENSIGN_MIME_USER_SPECIFIED3, "user/format-3" },
    { ENSIGN_MIME_USER_SPECIFIED4, "user/format-4" }, { ENSIGN_MIME_USER_SPECIFIED5, "user/format-5" },
    { ENSIGN_MIME_USER_SPECIFIED6, "user/format-6" }, { ENSIGN_MIME_USER_SPECIFIED7, "user/format-7" },
    { ENSIGN_MIME_USER_SPECIFIED8, "user/format-8" }, { ENSIGN_MIME_USER_SPECIFIED9, "user/format-9" },
};

typedef struct { ensign_slice_t prefix, mime, ext; } ensi_id_mime_parts_t; /* prefix/mime+ext */

const char *ensign_mime_name(int32_t mime)
{
    const char *name = ensi_id_name(ensi_id_mimes, ENSI_COUNT(ensi_id_mimes), mime);

    return name ? name : "unknown";
}

static bool ensi_id_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The characters of a part: letters, digits, '_', '-', and '.' where `dot` says so. */
static bool ensi_id_word(uint8_t c, bool dot)
{
    char l = ensi_lower(c);

    return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || (dot && c == '.');
}

/* Cuts the run of such characters off the front of `s`. */
static ensign_slice_t ensi_id_take_word(ensign_slice_t *s, bool dot)
{
    size_t n = 0;
    ensign_slice_t word;

    while (n < s->len && ensi_id_word(s->ptr[n], dot)) n++;
    word = ensi_slice(s->ptr, n);
    if (n > 0) *s = ensi_slice(s->ptr + n, s->len - n); /* ptr of an empty slice may be NULL */
    return word;
}

static bool ensi_id_take_char(ensign_slice_t *s, char c)
{
    if (s->len == 0 || s->ptr[0] != (uint8_t)c) return false;
    *s = ensi_slice(s->ptr + 1, s->len - 1);
    return true;
}

static ensign_slice_t ensi_id_trim(ensign_slice_t s)
{
    while (s.len > 0 && ensi_id_blank(s.ptr[0])) s = ensi_slice(s.ptr + 1, s.len - 1);
    while (s.len > 0 && ensi_id_blank(s.ptr[s.len - 1])) s.len--;
    return s;
}

/* Parameters: "; key=value", and again: the blank is a must, a second semicolon is not (SDK rules). */
static bool ensi_id_mime_params(ensign_slice_t s)
{
    for (bool first = true; s.len > 0; first = false) {
        if (!ensi_id_take_char(&s, ';') && first) return false;
        if (s.len == 0 || !ensi_id_blank(s.ptr[0])) return false;
        while (s.len > 0 && ensi_id_blank(s.ptr[0])) s = ensi_slice(s.ptr + 1, s.len - 1);
        if (ensi_id_take_word(&s, true).len == 0 || !ensi_id_take_char(&s, '=')) return false;
        if (ensi_id_take_word(&s, true).len == 0) return false;
    }
    return true;
}

static bool ensi_id_mime_split(ensign_slice_t s, ensi_id_mime_parts_t *parts)
{
    parts->mime = parts->ext = ensi_slice("", 0);
    parts->prefix = ensi_id_take_word(&s, false);
    if (!ensi_id_take_char(&s, '/')) return false;
    parts->mime = ensi_id_take_word(&s, true);
    if (parts->mime.len == 0) return false;
    if (ensi_id_take_char(&s, '+')) {
        parts->ext = ensi_id_take_word(&s, false);
        if (parts->ext.len == 0) return false;
    }
    return ensi_id_mime_params(s);
}

/* Does `s`, in any case, stand at *name? Then *name moves past it. */
static bool ensi_id_mime_eat(const char **name, ensign_slice_t s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((*name)[i] == '\0' || (*name)[i] != ensi_lower(s.ptr[i])) return false;
    }
    *name += s.len;
    return true;
}

/* prefix/mime, or prefix/mime+ext where ext is not empty. */
static bool ensi_id_mime_look_up(ensign_slice_t prefix, ensign_slice_t mime, ensign_slice_t ext, int32_t *out)
{
    for (size_t i = 0; i < ENSI_COUNT(ensi_id_mimes); i++) {
        const char *name = ensi_id_mimes[i].name;
        if (!ensi_id_mime_eat(&name, prefix) || !ensi_id_mime_eat(&name, ensi_slice("/", 1))) continue;
        if (!ensi_id_mime_eat(&name, mime)) continue;
        if (ext.len > 0 && !ensi_id_mime_eat(&name, ensi_slice("+", 1))) continue;
        if (!ensi_id_mime_eat(&name, ext)) continue;
        if (*name != '\0') continue;
        *out = ensi_id_mimes[i].number;
        return true;
    }
    return false;
}

/* The order decides: "application/atom+xml" is Atom and "application/x.y+xml" is XML. */
static bool ensi_id_mime_match(ensign_slice_t prefix, const ensi_id_mime_parts_t *parts, int32_t *out)
{
    ensign_slice_t none = ensi_slice("", 0);

    if (ensi_id_mime_look_up(prefix, parts->mime, none, out)) return true;
    if (parts->ext.len == 0) return false;
    return ensi_id_mime_look_up(prefix, parts->mime, parts->ext, out)
        || ensi_id_mime_look_up(prefix, parts->ext, none, out);
}

int ensign_mime_parse(ensign_slice_t text, int32_t *out)
{
    ensi_id_mime_parts_t parts;
    ensign_slice_t s = ensi_id_trim(text);
    bool split, is_text, is_app;

    if (!out) return ENSIGN_E_ARGUMENT;
    split = ensi_id_mime_split(s, &parts);
    is_text = s.len > 4 && s.ptr[4] == '/' && ensi_slice_is_word(parts.prefix, "text");
    is_app = ensi_slice_is_word(parts.prefix, "application");
    if (split && (is_text || is_app || ensi_slice_is_word(parts.prefix, "user"))) {
        if (ensi_id_mime_match(parts.prefix, &parts, out)) return ENSIGN_OK;
        if (is_text && ensi_id_mime_match(ensign_str("application"), &parts, out)) return ENSIGN_OK;
        if (is_app && ensi_id_mime_match(ensign_str("text"), &parts, out)) return ENSIGN_OK;
    }
    *out = is_text ? ENSIGN_MIME_TEXT_PLAIN : ENSIGN_MIME_APPLICATION_OCTET_STREAM;
    return ENSIGN_E_FORMAT;
}

/* ---- schemas: semver 2.0.0 */

static bool ensi_id_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* No leading zero, and it fits. Moves *at past the digits. */
static bool ensi_id_semver_number(const char **at, uint32_t *out)
{
    uint64_t value = 0;
    const char *p = *at;

    if (!ensi_id_digit(*p) || (p[0] == '0' && ensi_id_digit(p[1]))) return false;
    for (; ensi_id_digit(*p); p++) {
        value = value * 10 + (uint64_t)(*p - '0');
        if (value > UINT32_MAX) return false;
    }
    *out = (uint32_t)value;
    *at = p;
    return true;
}

/* Identifiers with dots between them. A number in a pre-release has no leading zero. */
static bool ensi_id_semver_idents(const char **at, bool build)
{
    const char *p = *at;

    for (;;) {
        const char *start = p;
        bool number = true;
        for (; *p != '_' && ensi_id_word((uint8_t)*p, false); p++) number = number && ensi_id_digit(*p);
        if (p == start) return false;
        if (!build && number && *start == '0' && p - start > 1) return false;
        if (*p != '.') break;
        p++;
    }
    *at = p;
    return true;
}

int ensign_type_parse(const char *name, const char *semver, ensign_type_t *out)
{
    ensign_type_t type;
    const char *p = semver;

    if (!out || !name || !semver) return ENSIGN_E_ARGUMENT;
    type.name = ensign_str(name);
    if (type.name.len == 0) return ENSIGN_E_FORMAT; /* on the wire an empty name means: no type */
    if (*p == 'v') p++;
    if (!ensi_id_semver_number(&p, &type.major) || *p++ != '.') return ENSIGN_E_FORMAT;
    if (!ensi_id_semver_number(&p, &type.minor) || *p++ != '.') return ENSIGN_E_FORMAT;
    if (!ensi_id_semver_number(&p, &type.patch)) return ENSIGN_E_FORMAT;
    if (*p == '-' && (p++, !ensi_id_semver_idents(&p, false))) return ENSIGN_E_FORMAT;
    if (*p == '+' && (p++, !ensi_id_semver_idents(&p, true))) return ENSIGN_E_FORMAT;
    if (*p != '\0') return ENSIGN_E_FORMAT;
    *out = type;
    return ENSIGN_OK;
}

/* ---- metadata: a protobuf map<string, string> */

/* One entry: its key or its value may be missing, which means empty. */
static bool ensi_id_map_entry(ensign_slice_t entry, ensign_slice_t *key, ensign_slice_t *value)
{
    const uint8_t *at = entry.ptr, *end = entry.ptr + entry.len;
    ensi_pb_item_t item;

    *key = *value = ensi_slice("", 0);
    while (at < end) {
        if (!ensi_pb_item_next(&at, end, &item)) return false;
        if (item.wire != PB_WT_STRING) continue;
        if (item.tag == ENSI_PB_EVENT_METADATA_ENTRY_KEY_TAG) *key = item.value;
        if (item.tag == ENSI_PB_EVENT_METADATA_ENTRY_VALUE_TAG) *value = item.value;
    }
    return true;
}

bool ensign_metadata_next(const ensign_event_t *e, size_t *at, ensign_slice_t *key, ensign_slice_t *value)
{
    ensign_slice_t entry, k, v;

    if (ensi_pb_span_next(e->metadata, ENSI_PB_EVENT_METADATA_TAG, at, &entry) &&
        ensi_id_map_entry(entry, &k, &v)) {
        *key = k;
        *value = v;
        return true;
    }
    *at = e->metadata.len; /* after malformed bytes too: a second call must not start in their middle */
    return false;
}

bool ensign_metadata_get(const ensign_event_t *e, const char *key, ensign_slice_t *value)
{
    ensign_slice_t k, v;
    size_t at = 0;
    bool found = false;

    while (ensign_metadata_next(e, &at, &k, &v)) {
        if (!ensi_slice_is(k, key)) continue;
        *value = v;
        found = true; /* go on: of two with one key the last one counts */
    }
    return found;
}

/* ---- dates */

typedef struct { int64_t year; int month, day, hour, minute, second; } ensi_id_date_t;

/* Unix seconds to the Gregorian calendar in UTC, for every int64_t. Years are counted from 1 March, so that
 * the leap day is a year's last; day 719468 before 1970 began such a year, 0. */
static ensi_id_date_t ensi_id_civil(int64_t seconds)
{
    ensi_id_date_t d;
    int64_t day = seconds / 86400, rest = seconds % 86400, era;
    int era_day, era_year, year_day, month;

    if (rest < 0) {
        rest += 86400;
        day--;
    }
    day += 719468;
    era = (day >= 0 ? day : day - 146096) / 146097; /* 400 years each, rounded down */
    era_day = (int)(day - era * 146097);
    era_year = (era_day - era_day / 1460 + era_day / 36524 - era_day / 146096) / 365;
    year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
    month = (5 * year_day + 2) / 153; /* 0 is March; 153 days in each five months */
    d.day = year_day - (153 * month + 2) / 5 + 1;
    d.month = month < 10 ? month + 3 : month - 9;
    d.year = era * 400 + era_year + (d.month <= 2 ? 1 : 0);
    d.hour = (int)(rest / 3600);
    d.minute = (int)(rest / 60 % 60);
    d.second = (int)(rest % 60);
    return d;
}

/* ---- an event as text */

#define ENSI_ID_DATA_SHOWN 100u               /* characters of the literal; PyEnsign's number */
#define ENSI_ID_GO_ZERO_TIME (-62135596800LL) /* 0001-01-01: what go-ensign sends for "not set" */

/* One byte as Python writes it in a literal between `quote`s. */
static void ensi_id_put_byte(ensi_text_t *t, uint8_t c, char quote)
{
    char name = c == '\t' ? 't' : c == '\n' ? 'n' : c == '\r' ? 'r' : '\0';

    if (c == '\\' || c == (uint8_t)quote) name = (char)c;
    if (name != '\0') ensi_text_format(t, "\\%c", name);
    else ensi_text_format(t, c >= 0x20 && c < 0x7F ? "%c" : "\\x%02x", c);
}

/* Python prefers ' and takes " where that saves escaping. */
static char ensi_id_quote(ensign_slice_t s)
{
    bool single, both;

    if (s.len == 0) return '\'';
    single = memchr(s.ptr, '\'', s.len) != NULL;
    both = single && memchr(s.ptr, '"', s.len) != NULL;
    return single && !both ? '"' : '\'';
}

static void ensi_id_put_data(ensi_text_t *t, ensign_slice_t data)
{
    char shown[ENSI_ID_DATA_SHOWN + 1], quote = ensi_id_quote(data);
    ensi_text_t x;

    ensi_text_begin(&x, shown, sizeof shown);
    ensi_text_puts(&x, "b");
    ensi_text_put(&x, &quote, 1);
    for (size_t i = 0; i < data.len && x.len <= x.cap; i++) ensi_id_put_byte(&x, data.ptr[i], quote);
    if (x.len <= x.cap) ensi_text_put(&x, &quote, 1);
    ensi_text_put(t, shown, ensi_min(x.len, x.cap));
    if (x.len > x.cap) ensi_text_puts(t, "...");
}

/* UTF-8 text: only what could steer a terminal is escaped: C0, DEL, and C1 (0xC2 and 0x80..0x9F). With a
 * quote also that quote and the backslash. */
static void ensi_id_put_words(ensi_text_t *t, ensign_slice_t s, char quote)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i], next = i + 1 < s.len ? s.ptr[i + 1] : 0;
        if (c == 0xC2 && next >= 0x80 && next < 0xA0) ensi_id_put_byte(t, s.ptr[++i], quote);
        else if (c < 0x80 && (c != '\\' || quote != '\0')) ensi_id_put_byte(t, c, quote);
        else ensi_text_put(t, &c, 1);
    }
}

static void ensi_id_put_time(ensi_text_t *t, ensign_time_t time)
{
    ensi_id_date_t d = ensi_id_civil(time.seconds);

    if (time.nanos == 0 && (time.seconds == 0 || time.seconds == ENSI_ID_GO_ZERO_TIME)) {
        ensi_text_puts(t, "None");
        return;
    }
    ensi_text_number(t, (uint64_t)d.year, 'd', d.year < 0 ? 5 : 4);
    ensi_text_format(t, "-%02d-%02d %02d:%02d:%02d", d.month, d.day, d.hour, d.minute, d.second);
    if (time.nanos < 1000 || time.nanos > 999999999) return; /* out of range: a peer's mistake, not shown */
    ensi_text_format(t, ".%06d", (int)(time.nanos / 1000));
}

/* "name v1.2.3" */
static void ensi_id_put_type(ensi_text_t *t, const ensign_type_t *type)
{
    ensi_id_put_words(t, type->name, '\0');
    ensi_text_format(t, " v%lu.%lu.%lu", (unsigned long)type->major, (unsigned long)type->minor,
                     (unsigned long)type->patch);
}

int ensign_type_text(const ensign_type_t *type, char *out, size_t cap)
{
    ensi_text_t t;
    if (!type) return ENSIGN_E_ARGUMENT;
    ensi_text_begin(&t, out, cap);
    if (type->name.len) ensi_id_put_type(&t, type);
    return ensi_text_end(&t, cap);
}

static void ensi_id_put_quoted(ensi_text_t *t, ensign_slice_t s)
{
    char quote = ensi_id_quote(s);

    ensi_text_put(t, &quote, 1);
    ensi_id_put_words(t, s, quote);
    ensi_text_put(t, &quote, 1);
}

/* As a Python dict prints. */
static void ensi_id_put_metadata(ensi_text_t *t, const ensign_event_t *e)
{
    ensign_slice_t key, value;
    const char *before = "\n\tmeta: {";
    size_t at = 0;
    bool any = false;

    for (; ensign_metadata_next(e, &at, &key, &value); any = true) {
        ensi_text_puts(t, before);
        ensi_id_put_quoted(t, key);
        ensi_text_puts(t, ": ");
        ensi_id_put_quoted(t, value);
        before = ", ";
    }
    if (any) ensi_text_puts(t, "}");
}

static void ensi_id_put_id(ensi_text_t *t, ensign_rlid_t id)
{
    static const ensign_rlid_t none = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}};
    char text[17];

    if (memcmp(id.b, none.b, sizeof none.b) == 0) return;
    ensign_rlid_text(id, text);
    ensi_text_puts(t, "\n\tid: ");
    ensi_text_puts(t, text);
}

static void ensi_id_put_mime(ensi_text_t *t, int32_t mime)
{
    ensi_text_puts(t, "\n\tmimetype: ");
    ensi_text_puts(t, ensign_mime_name(mime));
    if (ensi_id_name(ensi_id_mimes, ENSI_COUNT(ensi_id_mimes), mime)) return;
    ensi_text_format(t, " %ld", (long)mime);
}

int ensign_event_text(const ensign_event_t *e, char *out, size_t cap)
{
    ensi_text_t t;

    if (!e) return ENSIGN_E_ARGUMENT;
    ensi_text_begin(&t, out, cap);
    ensi_text_puts(&t, "Event:");
    ensi_id_put_id(&t, e->id);
    ensi_text_puts(&t, "\n\tdata: ");
    ensi_id_put_data(&t, e->data);
    ensi_id_put_mime(&t, e->mimetype);
    if (e->type.name.len) {
        ensi_text_puts(&t, "\n\tschema: ");
        ensi_id_put_type(&t, &e->type);
    }
    ensi_id_put_metadata(&t, e);
    ensi_text_puts(&t, "\n\tstate: EventState.SUBSCRIBED\n\tcreated: ");
    ensi_id_put_time(&t, e->created);
    ensi_text_puts(&t, "\n\tcommitted: ");
    ensi_id_put_time(&t, e->committed);
    return ensi_text_end(&t, cap);
}

/* ---- nack codes */

typedef struct { int code; const char *name, *text; } ensi_id_nack_t;

static const ensi_id_nack_t ensi_id_nacks[] = {
    { ENSIGN_NACK_UNKNOWN, "UNKNOWN", "refused without a reason" },
    { ENSIGN_NACK_MAX_EVENT_SIZE_EXCEEDED, "MAX_EVENT_SIZE_EXCEEDED",
      "the event is too large for the server; make it smaller" },
    { ENSIGN_NACK_TOPIC_UNKNOWN, "TOPIC_UNKNOWN",
      "the server knows no such topic in this project; create it or mend its name" },
    { ENSIGN_NACK_TOPIC_ARCHIVED, "TOPIC_ARCHIVED", "the topic is archived and takes no events" },
    { ENSIGN_NACK_TOPIC_DELETED, "TOPIC_DELETED", "the topic is being deleted" },
    { ENSIGN_NACK_PERMISSION_DENIED, "PERMISSION_DENIED", "the API key may not publish to this topic" },
    { ENSIGN_NACK_CONSENSUS_FAILURE, "CONSENSUS_FAILURE",
      "the server's nodes did not agree; publish the event again" },
    { ENSIGN_NACK_SHARDING_FAILURE, "SHARDING_FAILURE",
      "the event reached a node that does not hold its shard; publish it again" },
    { ENSIGN_NACK_REDIRECT, "REDIRECT", "another node of the server takes this event" },
    { ENSIGN_NACK_INTERNAL, "INTERNAL", "the server could not store the event; publish it again later" },
    { ENSIGN_NACK_UNPROCESSED, "UNPROCESSED", "the subscriber did not process the event" },
    { ENSIGN_NACK_TIMEOUT, "TIMEOUT", "the subscriber did not finish in time" },
    { ENSIGN_NACK_UNHANDLED_MIMETYPE, "UNHANDLED_MIMETYPE", "the subscriber cannot read this MIME type" },
    { ENSIGN_NACK_UNKNOWN_TYPE, "UNKNOWN_TYPE", "the subscriber does not know this schema" },
    { ENSIGN_NACK_DELIVER_AGAIN_ANY, "DELIVER_AGAIN_ANY", "the event should be delivered again" },
    { ENSIGN_NACK_DELIVER_AGAIN_NOT_ME, "DELIVER_AGAIN_NOT_ME",
      "the event should be delivered again to another subscriber" },
    { ENSIGN_NACK_NOT_SENT, "NOT_SENT", "the event was never sent; it can be published again" },
    { ENSIGN_NACK_OUTCOME_UNKNOWN, "OUTCOME_UNKNOWN",
      "the connection broke before the ack; the event may be stored" },
};

static const ensi_id_nack_t *ensi_id_nack_find(int code)
{
    static const ensi_id_nack_t other = { -1, "UNKNOWN_CODE",
                                          "refused with a code that this library does not know" };

    for (size_t i = 0; i < ENSI_COUNT(ensi_id_nacks); i++) {
        if (ensi_id_nacks[i].code == code) return &ensi_id_nacks[i];
    }
    return &other;
}

const char *ensign_nack_name(int code)
{
    return ensi_id_nack_find(code)->name;
}

/* For a nack that brought no words of its own. */
static ENSI_UNUSED const char *ensi_id_nack_text(int code)
{
    return ensi_id_nack_find(code)->text;
}

/* A topic's name begins with a letter, a ULID with a digit: the text tells which it is. */
static bool ensi_id_of_topic_text(ensign_slice_t text, ensign_ulid_t *id)
{
    return text.len == 26 && text.ptr[0] <= '9' && ensign_ulid_parse(text, id) == ENSIGN_OK;
}

/* ---- names of the service's numbers */

static const ensi_id_name_t ensi_id_topic_states[] = {
    { ENSIGN_TOPIC_UNDEFINED, "UNDEFINED" }, { ENSIGN_TOPIC_READY, "READY" },
    { ENSIGN_TOPIC_READONLY, "READONLY" },   { ENSIGN_TOPIC_DELETING, "DELETING" },
    { ENSIGN_TOPIC_PENDING, "PENDING" },     { ENSIGN_TOPIC_ALLOCATING, "ALLOCATING" },
    { ENSIGN_TOPIC_REPAIRING, "REPAIRING" },
};
static const ensi_id_name_t ensi_id_service_states[] = {
    { ENSIGN_SERVICE_UNKNOWN, "UNKNOWN" },     { ENSIGN_SERVICE_HEALTHY, "HEALTHY" },
    { ENSIGN_SERVICE_UNHEALTHY, "UNHEALTHY" }, { ENSIGN_SERVICE_DANGER, "DANGER" },
    { ENSIGN_SERVICE_OFFLINE, "OFFLINE" },     { ENSIGN_SERVICE_MAINTENANCE, "MAINTENANCE" },
};
static const ensi_id_name_t ensi_id_strategies[] = {
    { ENSIGN_DEDUP_UNKNOWN, "UNKNOWN" },           { ENSIGN_DEDUP_NONE, "NONE" },
    { ENSIGN_DEDUP_STRICT, "STRICT" },             { ENSIGN_DEDUP_DATAGRAM, "DATAGRAM" },
    { ENSIGN_DEDUP_KEY_GROUPED, "KEY_GROUPED" },   { ENSIGN_DEDUP_UNIQUE_KEY, "UNIQUE_KEY" },
    { ENSIGN_DEDUP_UNIQUE_FIELD, "UNIQUE_FIELD" },
};
static const ensi_id_name_t ensi_id_offsets[] = { /* the short names first: they are the ones given */
    { ENSIGN_DEDUP_OFFSET_UNKNOWN, "UNKNOWN" },         { ENSIGN_DEDUP_OFFSET_EARLIEST, "EARLIEST" },
    { ENSIGN_DEDUP_OFFSET_LATEST, "LATEST" },           { ENSIGN_DEDUP_OFFSET_UNKNOWN, "OFFSET_UNKNOWN" },
    { ENSIGN_DEDUP_OFFSET_EARLIEST, "OFFSET_EARLIEST" }, { ENSIGN_DEDUP_OFFSET_LATEST, "OFFSET_LATEST" },
};
static const ensi_id_name_t ensi_id_shardings[] = {
    { ENSIGN_SHARDING_UNKNOWN, "UNKNOWN" },
    { ENSIGN_SHARDING_NONE, "NO_SHARDING" },
    { ENSIGN_SHARDING_CONSISTENT_KEY_HASH, "CONSISTENT_KEY_HASH" },
    { ENSIGN_SHARDING_RANDOM, "RANDOM" },
    { ENSIGN_SHARDING_PUBLISHER_ORDERING, "PUBLISHER_ORDERING" },
    { ENSIGN_SHARDING_NONE, "NONE" }, /* behind the service's name, which is the one given */
};
static const ensi_id_name_t ensi_id_healths[] = {
    { ENSIGN_HEALTH_UNKNOWN, "UNKNOWN" },
    { ENSIGN_HEALTH_SERVING, "SERVING" },
    { ENSIGN_HEALTH_NOT_SERVING, "NOT_SERVING" },
    { ENSIGN_HEALTH_SERVICE_UNKNOWN, "SERVICE_UNKNOWN" },
};

/* The table of `names`, an ENSIGN_NAMES_x. Returns NULL when no table has that number. */
static const ensi_id_name_t *ensi_id_names(int names, size_t *count)
{
    static const struct { const ensi_id_name_t *list; size_t count; } tables[ENSIGN_NAMES] = {
        { ensi_id_topic_states, ENSI_COUNT(ensi_id_topic_states) },
        { ensi_id_service_states, ENSI_COUNT(ensi_id_service_states) },
        { ensi_id_strategies, ENSI_COUNT(ensi_id_strategies) },
        { ensi_id_offsets, ENSI_COUNT(ensi_id_offsets) },
        { ensi_id_shardings, ENSI_COUNT(ensi_id_shardings) },
        { ensi_id_healths, ENSI_COUNT(ensi_id_healths) },
    };
    *count = 0;
    if (names < 0 || names >= ENSIGN_NAMES) return NULL;
    *count = tables[names].count;
    return tables[names].list;
}

const char *ensign_enum_name(int names, int number)
{
    size_t count;
    const ensi_id_name_t *list = ensi_id_names(names, &count);
    const char *name = ensi_id_name(list, count, number);
    return name ? name : "UNKNOWN";
}

static bool ensi_id_is_name(ensign_slice_t text, const char *name)
{
    if (text.len != strlen(name)) return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i] == '-' || text.ptr[i] == ' ' ? '_' : ensi_lower(text.ptr[i]);
        if (c != ensi_lower((uint8_t)name[i])) return false;
    }
    return true;
}

int ensign_enum_parse(int names, ensign_slice_t text, int *number)
{
    size_t count;
    const ensi_id_name_t *list = ensi_id_names(names, &count);
    if (!number) return ENSIGN_E_ARGUMENT;
    for (size_t i = 0; i < count; i++) {
        if (!ensi_id_is_name(text, list[i].name)) continue;
        *number = list[i].number;
        return ENSIGN_OK;
    }
    return ENSIGN_E_FORMAT;
}

/* ---- the service's hash of a topic's name: MurmurHash3 x64-128 with seed 0, both halves big-endian */

enum { ENSI_ID_HASH = 16 };

static uint64_t ensi_id_rotate(uint64_t x, unsigned by)
{
    return (x << by) | (x >> (64 - by));
}

static uint64_t ensi_id_mix(uint64_t h)
{
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdULL;
    h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53ULL;
    return h ^ (h >> 33);
}

/* Up to 8 bytes, little-endian. */
static uint64_t ensi_id_word_of(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    while (n > 0) v = (v << 8) | p[--n];
    return v;
}

static uint64_t ensi_id_half(uint64_t k, uint64_t before, unsigned turn, uint64_t after)
{
    return ensi_id_rotate(k * before, turn) * after;
}

static void ensi_id_hash(ensign_slice_t name, uint8_t out[ENSI_ID_HASH])
{
    const uint64_t c1 = 0x87c37b91114253d5ULL, c2 = 0x4cf5ad432745937fULL;
    uint64_t h1 = 0, h2 = 0;
    const uint8_t *p = name.ptr;
    size_t n = name.len;
    for (; n >= 16; p += 16, n -= 16) {
        h1 ^= ensi_id_half(ensi_id_word_of(p, 8), c1, 31, c2);
        h1 = (ensi_id_rotate(h1, 27) + h2) * 5 + 0x52dce729;
        h2 ^= ensi_id_half(ensi_id_word_of(p + 8, 8), c2, 33, c1);
        h2 = (ensi_id_rotate(h2, 31) + h1) * 5 + 0x38495ab5;
    }
    if (n > 8) h2 ^= ensi_id_half(ensi_id_word_of(p + 8, n - 8), c2, 33, c1);
    if (n > 0) h1 ^= ensi_id_half(ensi_id_word_of(p, n < 8 ? n : 8), c1, 31, c2);
    h1 ^= name.len;
    h2 ^= name.len;
    h1 += h2;
    h2 += h1;
    h1 = ensi_id_mix(h1);
    h2 = ensi_id_mix(h2);
    h1 += h2;
    h2 += h1;
    ensi_put_be64(out, h1);
    ensi_put_be64(out + 8, h2);
}

/* ---- a flat copy of an event */

typedef struct ensi_id_flat_t { uint8_t *at; size_t size; } ensi_id_flat_t; /* at NULL: it only counts */

/* Room for `size` bytes that begin where any type may. */
static uint8_t *ensi_id_flat_take(ensi_id_flat_t *f, size_t size)
{
    uint8_t *p = f->at ? f->at + f->size : NULL;
    f->size += (size + sizeof(void *) - 1) / sizeof(void *) * sizeof(void *);
    return p;
}

static ensign_slice_t ensi_id_flat_slice(ensi_id_flat_t *f, ensign_slice_t s)
{
    uint8_t *p = s.len ? ensi_id_flat_take(f, s.len) : NULL;
    if (p) memcpy(p, s.ptr, s.len);
    return ensi_slice(p, s.len);
}

static const char *ensi_id_flat_text(ensi_id_flat_t *f, const char *text)
{
    char *p = text ? (char *)ensi_id_flat_take(f, strlen(text) + 1) : NULL;
    if (p) memcpy(p, text, strlen(text) + 1);
    return p;
}

static const ensign_pair_t *ensi_id_flat_pairs(ensi_id_flat_t *f, const ensign_pair_t *pairs, size_t count)
{
    ensign_pair_t *list = count ? (ensign_pair_t *)(void *)ensi_id_flat_take(f, count * sizeof *list) : NULL;
    for (size_t i = 0; i < count; i++) {
        const char *key = ensi_id_flat_text(f, pairs[i].key), *value = ensi_id_flat_text(f, pairs[i].value);
        if (!list) continue;
        list[i].key = key;
        list[i].value = value;
    }
    return list;
}

/* The event's copy behind its struct; with f->at NULL only its size is counted. */
static ensign_event_t *ensi_id_flatten(ensi_id_flat_t *f, const ensign_event_t *e)
{
    ensign_event_t *to = (ensign_event_t *)(void *)ensi_id_flat_take(f, sizeof *to), x = *e;
    ensign_slice_t *const slices[] = { &x.data, &x.metadata, &x.key, &x.encryption, &x.compression,
                                       &x.type.name, &x.topic_name, &x.publisher_id, &x.publisher_client_id,
                                       &x.publisher_address, &x.publisher_agent };
    for (size_t i = 0; i < ENSI_COUNT(slices); i++) *slices[i] = ensi_id_flat_slice(f, *slices[i]);
    x.topic = ensi_id_flat_text(f, e->topic);
    x.pairs = ensi_id_flat_pairs(f, e->pairs, e->pair_count);
    if (to) *to = x;
    return to;
}

int ensign_event_copy(const ensign_event_t *e, void *buf, size_t *size, ensign_event_t **out)
{
    ensi_id_flat_t count = { NULL, 0 }, copy = { (uint8_t *)buf, 0 };
    if (!e || !size || (buf && !out)) return ENSIGN_E_ARGUMENT;
    ensi_id_flatten(&count, e);
    if (!buf || *size < count.size) {
        *size = count.size;
        return ENSIGN_E_TOO_LARGE;
    }
    *out = ensi_id_flatten(&copy, e);
    *size = copy.size;
    return ENSIGN_OK;
}

#endif /* ENSIGN_NO_SERVICE */

/* >>json   may call: util
 *          open to: auth
 * JSON, base64 and the dates in a token
 *
 * Owns   nothing: base64, JSON (RFC 8259) and the payload of a JWT (RFC 7519), from memory to memory.
 * Holds  a document is read to its end before anything is answered: a member found early does not hide a
 *        fault further on, and of two members with one name the last counts;
 *        nothing nests deeper than ENSI_JSON_DEPTH, so the stack is bounded whatever a peer sends;
 *        strings that come out are well-formed UTF-8.
 * Fails  E_FORMAT: not JSON, or a member of another kind than asked for. E_TOO_LARGE: it does not fit.
 *        AGAIN: no such member, or null. Only OK writes to the outputs. */

/* ---- base64 (RFC 4648) */

/* The six bits of a character, or 64. */
static unsigned ensi_base64_value(char c, bool url)
{
    if (c >= 'A' && c <= 'Z') return (unsigned)(c - 'A');
    if (c >= 'a' && c <= 'z') return (unsigned)(c - 'a') + 26;
    if (c >= '0' && c <= '9') return (unsigned)(c - '0') + 52;
    if (c == (url ? '-' : '+')) return 62;
    if (c == (url ? '_' : '/')) return 63;
    return 64;
}

/* Padding is absent or right. `out` may be `p`. Bits left over in the last character are not looked at:
 * senders differ. */
static ENSI_UNUSED int ensi_base64_decode(const char *p, size_t n, bool url, uint8_t *out, size_t cap,
                                          size_t *len)
{
    uint32_t acc = 0;
    size_t pads = 0, at = 0;

    while (pads < 2 && pads < n && p[n - 1 - pads] == '=') pads++;
    if (pads > 0 && n % 4 != 0) return ENSIGN_E_FORMAT;
    n -= pads;
    if (n % 4 == 1) return ENSIGN_E_FORMAT; /* a character is left over */
    for (size_t i = 0; i < n; i++)
        if (ensi_base64_value(p[i], url) > 63) return ENSIGN_E_FORMAT;
    if (n / 4 * 3 + n % 4 * 3 / 4 > cap) return ENSIGN_E_TOO_LARGE;
    for (size_t i = 0; i < n; i++) {
        acc = (acc << 6) | ensi_base64_value(p[i], url);
        if (i % 4 > 0) out[at++] = (uint8_t)(acc >> (6 - 2 * (i % 4)));
    }
    *len = at;
    return ENSIGN_OK;
}

/* Standard alphabet, no NUL. */
static ENSI_UNUSED int ensi_base64_encode(const uint8_t *p, size_t n, bool pad, char *out, size_t cap,
                                          size_t *len)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t tail = n % 3, at = 0;
    size_t last = tail == 0 ? 0 : pad ? 4 : tail + 1; /* characters of an incomplete group */

    if (n / 3 > (SIZE_MAX - 4) / 4 || n / 3 * 4 + last > cap) return ENSIGN_E_TOO_LARGE;
    for (size_t i = 0; i < n; i += 3) {
        size_t take = ensi_min(n - i, 3);
        uint32_t group = (uint32_t)p[i] << 16;
        if (take > 1) group |= (uint32_t)p[i + 1] << 8;
        if (take > 2) group |= p[i + 2];
        for (unsigned k = 0; k <= take; k++) out[at++] = alphabet[(group >> (18 - 6 * k)) & 63];
    }
    while (at < n / 3 * 4 + last) out[at++] = '=';
    *len = at;
    return ENSIGN_OK;
}

/* ---- characters of a string */

/* What may stand behind a backslash, and what it means. The first one is never written: it need not be. */
static const char ensi_json_names[] = "/\"\\bfnrt", ensi_json_meanings[] = "/\"\\\b\f\n\r\t";

static size_t ensi_json_utf8_put(uint32_t c, uint8_t out[4])
{
    size_t size = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

    for (size_t i = size - 1; i > 0; i--, c >>= 6) out[i] = (uint8_t)(0x80 | (c & 0x3F));
    out[0] = (uint8_t)(size == 1 ? c : (0xF00u >> size & 0xFF) | c);
    return size;
}

/* "uXXXX" at *p. */
static bool ensi_json_hex4(const uint8_t **p, const uint8_t *end, uint32_t *out)
{
    *out = 0;
    if (end - *p < 5 || **p != 'u') return false;
    for (unsigned i = 1; i <= 4; i++) {
        int digit = ensi_hex((*p)[i]);
        if (digit < 0) return false;
        *out = *out << 4 | (uint32_t)digit;
    }
    *p += 5;
    return true;
}

/* What follows a backslash. A high surrogate needs a low one behind it; a low one cannot stand alone. */
static size_t ensi_json_unescape(const uint8_t **p, const uint8_t *end, uint8_t out[4])
{
    const char *name = *p < end && **p ? strchr(ensi_json_names, **p) : NULL;
    uint32_t c, low;

    if (name) {
        out[0] = (uint8_t)ensi_json_meanings[name - ensi_json_names];
        (*p)++;
        return 1;
    }
    if (!ensi_json_hex4(p, end, &c) || (c >= 0xDC00 && c <= 0xDFFF)) return 0;
    if (c >= 0xD800 && c <= 0xDBFF) {
        if (*p == end || *(*p)++ != '\\') return 0;
        if (!ensi_json_hex4(p, end, &low) || low < 0xDC00 || low > 0xDFFF) return 0;
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    }
    return ensi_json_utf8_put(c, out);
}

/* Reads one character between quotes. Returns its length in UTF-8, 0 if it is malformed. */
static size_t ensi_json_char(const uint8_t **p, const uint8_t *end, uint8_t out[4])
{
    size_t size;

    if (*p == end || **p < 0x20) return 0;
    if (**p == '\\') {
        (*p)++;
        return ensi_json_unescape(p, end, out);
    }
    size = ensi_utf8_size(*p, end);
    memcpy(out, *p, size);
    *p += size;
    return size;
}

/* ---- the document */

#define ENSI_JSON_DEPTH 64 /* objects and arrays inside one another */

typedef struct { const uint8_t *p, *end; } ensi_json_t;

static bool ensi_json_value(ensi_json_t *x, unsigned depth);

static void ensi_json_blanks(ensi_json_t *x)
{
    while (x->p < x->end && (*x->p == ' ' || *x->p == '\t' || *x->p == '\n' || *x->p == '\r')) x->p++;
}

static bool ensi_json_take(ensi_json_t *x, char c)
{
    if (x->p == x->end || *x->p != (uint8_t)c) return false;
    x->p++;
    return true;
}

/* *inside: what stands between the quotes, checked but not unescaped. */
static bool ensi_json_quoted(ensi_json_t *x, ensign_slice_t *inside)
{
    const uint8_t *start;
    uint8_t utf8[4];

    if (!ensi_json_take(x, '"')) return false;
    for (start = x->p; x->p < x->end && *x->p != '"';)
        if (ensi_json_char(&x->p, x->end, utf8) == 0) return false;
    *inside = ensi_slice(start, (size_t)(x->p - start));
    return ensi_json_take(x, '"');
}

static bool ensi_json_digits(ensi_json_t *x)
{
    const uint8_t *start = x->p;

    while (x->p < x->end && *x->p >= '0' && *x->p <= '9') x->p++;
    return x->p > start;
}

static bool ensi_json_number(ensi_json_t *x)
{
    (void)ensi_json_take(x, '-');
    if (!ensi_json_take(x, '0') && !ensi_json_digits(x)) return false; /* 01: the caller fails at the 1 */
    if (ensi_json_take(x, '.') && !ensi_json_digits(x)) return false;
    if (!ensi_json_take(x, 'e') && !ensi_json_take(x, 'E')) return true;
    if (!ensi_json_take(x, '+')) (void)ensi_json_take(x, '-');
    return ensi_json_digits(x);
}

static bool ensi_json_literal(ensi_json_t *x, const char *word)
{
    while (*word && ensi_json_take(x, *word)) word++;
    return *word == '\0';
}

/* Is a checked string, unescaped, this text? */
static bool ensi_json_is(ensign_slice_t inside, const char *text)
{
    const uint8_t *p = inside.ptr, *end = inside.ptr + inside.len;
    size_t left = strlen(text), size;
    uint8_t utf8[4];

    for (; p < end; text += size, left -= size) {
        size = ensi_json_char(&p, end, utf8);
        if (size > left || memcmp(utf8, text, size) != 0) return false;
    }
    return left == 0;
}

/* The name of a member and its colon. */
static bool ensi_json_name(ensi_json_t *x, ensign_slice_t *name)
{
    ensi_json_blanks(x);
    if (!ensi_json_quoted(x, name)) return false;
    ensi_json_blanks(x);
    return ensi_json_take(x, ':');
}

/* An object or array from behind its bracket, up to `close`. *found: the value of the object's last member
 * `key`, as it stands; key NULL: none is sought. */
static bool ensi_json_inside(ensi_json_t *x, unsigned depth, char close, const char *key,
                             ensign_slice_t *found)
{
    ensign_slice_t name;
    const uint8_t *start;

    ensi_json_blanks(x);
    if (ensi_json_take(x, close)) return true;
    do {
        if (close == '}' && !ensi_json_name(x, &name)) return false;
        ensi_json_blanks(x);
        start = x->p;
        if (!ensi_json_value(x, depth)) return false;
        if (key && ensi_json_is(name, key)) *found = ensi_slice(start, (size_t)(x->p - start));
        ensi_json_blanks(x);
    } while (ensi_json_take(x, ','));
    return ensi_json_take(x, close);
}

/* depth: how many objects and arrays are open around this value. */
static bool ensi_json_value(ensi_json_t *x, unsigned depth)
{
    ensign_slice_t inside;

    if (x->p == x->end) return false;
    switch (*x->p) {
    case '{': x->p++; return depth < ENSI_JSON_DEPTH && ensi_json_inside(x, depth + 1, '}', NULL, NULL);
    case '[': x->p++; return depth < ENSI_JSON_DEPTH && ensi_json_inside(x, depth + 1, ']', NULL, NULL);
    case '"': return ensi_json_quoted(x, &inside);
    case 't': return ensi_json_literal(x, "true");
    case 'f': return ensi_json_literal(x, "false");
    case 'n': return ensi_json_literal(x, "null");
    default: return ensi_json_number(x);
    }
}

/* The value of a member of the top-level object, as it stands in the document: never empty, but perhaps
 * null. */
static int ensi_json_member(ensign_slice_t doc, const char *key, ensign_slice_t *value)
{
    ensign_slice_t found = ensi_slice("", 0);
    ensi_json_t x;

    if (doc.len == 0) return ENSIGN_E_FORMAT;
    x.p = doc.ptr;
    x.end = doc.ptr + doc.len;
    ensi_json_blanks(&x);
    if (!ensi_json_take(&x, '{') || !ensi_json_inside(&x, 1, '}', key, &found)) return ENSIGN_E_FORMAT;
    ensi_json_blanks(&x);
    if (x.p != x.end) return ENSIGN_E_FORMAT;
    if (found.len == 0) return ENSIGN_AGAIN;
    *value = found;
    return ENSIGN_OK;
}

/* Unescaped and NUL-terminated; *len is without that NUL, and the text can hold NULs of its own. */
static ENSI_UNUSED int ensi_json_string(ensign_slice_t doc, const char *key, char *out, size_t cap,
                                        size_t *len)
{
    ensign_slice_t value;
    const uint8_t *p, *end;
    uint8_t utf8[4];
    size_t need = 0, at = 0, size;
    int rc = ensi_json_member(doc, key, &value);

    if (rc != ENSIGN_OK) return rc;
    if (value.ptr[0] != '"') return value.ptr[0] == 'n' ? ENSIGN_AGAIN : ENSIGN_E_FORMAT;
    end = value.ptr + value.len - 1;
    for (p = value.ptr + 1; p < end;) need += ensi_json_char(&p, end, utf8);
    if (need >= cap) return ENSIGN_E_TOO_LARGE;
    for (p = value.ptr + 1; p < end; at += size) {
        size = ensi_json_char(&p, end, utf8);
        memcpy(out + at, utf8, size);
    }
    out[at] = '\0';
    *len = at;
    return ENSIGN_OK;
}

/* How many digits of a checked number stand before its point, once the exponent has moved that; below zero:
 * zeros are between. *end: where the digits end. */
static int64_t ensi_json_places(ensign_slice_t number, size_t *end)
{
    const uint8_t *p = number.ptr;
    int64_t whole = 0, exponent = 0;
    size_t i = p[0] == '-' ? 1 : 0;
    bool minus;

    for (; i < number.len && p[i] >= '0' && p[i] <= '9'; i++) whole++;
    while (i < number.len && p[i] != 'e' && p[i] != 'E') i++;
    *end = i;
    minus = i + 1 < number.len && p[i + 1] == '-';
    for (i++; i < number.len; i++) /* so far off that no larger one matters */
        if (p[i] >= '0' && exponent < INT64_MAX / 100) exponent = exponent * 10 + (p[i] - '0');
    return minus ? whole - exponent : whole + exponent;
}

/* A number; a fraction is dropped: a NumericDate may have one (RFC 7519, section 2). */
static ENSI_UNUSED int ensi_json_int(ensign_slice_t doc, const char *key, int64_t *out)
{
    ensign_slice_t value;
    int64_t sum = 0, places; /* sum is kept below zero: INT64_MIN has no positive twin */
    size_t end;
    bool minus;
    int rc = ensi_json_member(doc, key, &value);

    if (rc != ENSIGN_OK) return rc;
    minus = value.ptr[0] == '-';
    if (!minus && (value.ptr[0] < '0' || value.ptr[0] > '9'))
        return value.ptr[0] == 'n' ? ENSIGN_AGAIN : ENSIGN_E_FORMAT;
    places = ensi_json_places(value, &end);
    for (size_t i = minus ? 1 : 0; places > 0 && (i < end || sum < 0); i++) {
        int digit = i < end ? value.ptr[i] - '0' : 0;
        if (i < end && value.ptr[i] == '.') continue;
        if (sum < (INT64_MIN + digit) / 10) return ENSIGN_E_TOO_LARGE;
        sum = sum * 10 - digit;
        places--;
    }
    if (!minus && sum == INT64_MIN) return ENSIGN_E_TOO_LARGE;
    *out = minus ? sum : -sum;
    return ENSIGN_OK;
}

/* How a byte stands between quotes: 1 to 6 characters. */
static size_t ensi_json_escape_byte(uint8_t c, char out[6])
{
    static const char hex[] = "0123456789abcdef";
    const char *meaning = c ? strchr(ensi_json_meanings + 1, c) : NULL;

    out[0] = '\\';
    if (meaning) {
        out[1] = ensi_json_names[meaning - ensi_json_meanings];
        return 2;
    }
    if (c >= 0x20) {
        out[0] = (char)c;
        return 1;
    }
    memcpy(out + 1, "u00", 3);
    out[4] = hex[c >> 4];
    out[5] = hex[c & 15];
    return 6;
}

/* Text for between quotes, and a NUL, which *len does not count. E_FORMAT: it is no UTF-8. */
static ENSI_UNUSED int ensi_json_escape(ensign_slice_t text, char *out, size_t cap, size_t *len)
{
    char escaped[6];
    size_t need = 0, at = 0, size;

    for (size_t i = 0; i < text.len; i += size) {
        size = ensi_utf8_size(text.ptr + i, text.ptr + text.len);
        if (size == 0) return ENSIGN_E_FORMAT;
        need += size > 1 ? size : ensi_json_escape_byte(text.ptr[i], escaped);
    }
    if (need >= cap) return ENSIGN_E_TOO_LARGE;
    for (size_t i = 0; i < text.len; i++) at += ensi_json_escape_byte(text.ptr[i], out + at);
    out[at] = '\0';
    *len = at;
    return ENSIGN_OK;
}

/* ---- the payload of a JWT */

#define ENSI_JWT_PAYLOAD_MAX 8192 /* bytes, on the stack; the service's tokens have about 600 */

#define ENSI_JWT_TIME_MAX 253402300799 /* the end of 9999: times can be subtracted, and counted in ms */
typedef struct { int64_t iat, nbf, exp; } ensi_jwt_t; /* Unix seconds; 0: absent */

/* The part between the two dots. The signature may be empty (RFC 7519, section 6). */
static bool ensi_jwt_payload(ensign_slice_t token, ensign_slice_t *payload)
{
    size_t dots[2], n = 0;

    for (size_t i = 0; i < token.len; i++) {
        if (token.ptr[i] != '.') continue;
        if (n == 2) return false;
        dots[n++] = i;
    }
    if (n != 2 || dots[0] == 0 || dots[1] == dots[0] + 1) return false;
    *payload = ensi_slice(token.ptr + dots[0] + 1, dots[1] - dots[0] - 1);
    return true;
}

/* Nothing is verified: the token is for the server to judge, the times are for us to renew it by. */
static ENSI_UNUSED int ensi_jwt_read(ensign_slice_t token, ensi_jwt_t *out)
{
    static const char *const names[] = { "iat", "nbf", "exp" };
    uint8_t json[ENSI_JWT_PAYLOAD_MAX];
    int64_t times[ENSI_COUNT(names)] = { 0, 0, 0 };
    ensign_slice_t payload;
    size_t len;
    int rc;

    if (!ensi_jwt_payload(token, &payload)) return ENSIGN_E_FORMAT;
    rc = ensi_base64_decode((const char *)payload.ptr, payload.len, true, json, sizeof json, &len);
    for (size_t i = 0; rc == ENSIGN_OK && i < ENSI_COUNT(names); i++) {
        rc = ensi_json_int(ensi_slice(json, len), names[i], &times[i]);
        if (rc == ENSIGN_AGAIN) rc = ENSIGN_OK;
        if (times[i] < 0 || times[i] > ENSI_JWT_TIME_MAX) rc = ENSIGN_E_FORMAT;
    }
    if (rc != ENSIGN_OK) return rc;
    out->iat = times[0];
    out->nbf = times[1];
    out->exp = times[2];
    return ENSIGN_OK;
}

/* >>http1   may call: util trace
 *           open to: auth link
 * HTTP/1.1 answers, in any cut, one form of request, and CONNECT
 *
 * Owns   one answer on its way in (ensi_http1_t), whose body goes to memory of the caller's; and the
 *        writer of a request, which keeps nothing.
 * Holds  body_len <= cap; head_len <= ENSI_HTTP1_HEAD_MAX, over the interim answers, the head and the
 *        trailers together; of a line only the first ENSI_HTTP1_LINE_MAX bytes are kept, but each byte is
 *        looked at; the result does not depend on how the bytes are cut;
 *        once OK or an error was given, no byte more is taken and the same is given again.
 * Moves  by ensi_http1_moves alone. STATUS, FIELDS, SIZE, DATA_END and TRAILERS read lines; LENGTH, DATA
 *        and CLOSE read body. DONE is final, and so is the first error.
 * Fails  E_PROTOCOL: RFC 9112 forbids it, or it is something that we did not ask for. E_TOO_LARGE: a named
 *        limit or the caller's cap. E_CLOSED: the peer closed half way. `what` says which. */

#define ENSI_HTTP1_HEAD_MAX 16384 /* bytes of all header lines */
#define ENSI_HTTP1_LINE_MAX 256   /* bytes of a header line that we must read, and of a chunk's size line */

typedef enum {
    ENSI_HTTP1_STATUS, ENSI_HTTP1_FIELDS, ENSI_HTTP1_LENGTH, ENSI_HTTP1_SIZE, ENSI_HTTP1_DATA,
    ENSI_HTTP1_DATA_END, ENSI_HTTP1_TRAILERS, ENSI_HTTP1_CLOSE, ENSI_HTTP1_DONE, ENSI_HTTP1_STATES
} ensi_http1_state_t;

typedef enum {
    ENSI_HTTP1_ON_STATUS,    /* the status line */
    ENSI_HTTP1_ON_INTERIM,   /* a head with a status of 1xx */
    ENSI_HTTP1_ON_LENGTH,    /* a head: the body has a length */
    ENSI_HTTP1_ON_CHUNKED,   /* a head: the body comes in chunks */
    ENSI_HTTP1_ON_OPEN,      /* a head: the body ends when the peer closes */
    ENSI_HTTP1_ON_CHUNK,     /* the size of a chunk */
    ENSI_HTTP1_ON_LAST,      /* a size of 0 */
    ENSI_HTTP1_ON_FULL,      /* the last byte of the body, or of a chunk */
    ENSI_HTTP1_ON_LINE,      /* the end of the line behind a chunk */
    ENSI_HTTP1_ON_END,       /* the answer is whole */
    ENSI_HTTP1_INS
} ensi_http1_in_t;

static const ensi_move_t ensi_http1_moves[] = {
    { ENSI_HTTP1_STATUS,   ENSI_HTTP1_ON_STATUS,  ENSI_HTTP1_FIELDS   },
    { ENSI_HTTP1_FIELDS,   ENSI_HTTP1_ON_INTERIM, ENSI_HTTP1_STATUS   },
    { ENSI_HTTP1_FIELDS,   ENSI_HTTP1_ON_LENGTH,  ENSI_HTTP1_LENGTH   },
    { ENSI_HTTP1_FIELDS,   ENSI_HTTP1_ON_CHUNKED, ENSI_HTTP1_SIZE     },
    { ENSI_HTTP1_FIELDS,   ENSI_HTTP1_ON_OPEN,    ENSI_HTTP1_CLOSE    },
    { ENSI_HTTP1_FIELDS,   ENSI_HTTP1_ON_END,     ENSI_HTTP1_DONE     }, /* no body */
    { ENSI_HTTP1_LENGTH,   ENSI_HTTP1_ON_FULL,    ENSI_HTTP1_DONE     },
    { ENSI_HTTP1_SIZE,     ENSI_HTTP1_ON_CHUNK,   ENSI_HTTP1_DATA     },
    { ENSI_HTTP1_SIZE,     ENSI_HTTP1_ON_LAST,    ENSI_HTTP1_TRAILERS },
    { ENSI_HTTP1_DATA,     ENSI_HTTP1_ON_FULL,    ENSI_HTTP1_DATA_END },
    { ENSI_HTTP1_DATA_END, ENSI_HTTP1_ON_LINE,    ENSI_HTTP1_SIZE     },
    { ENSI_HTTP1_TRAILERS, ENSI_HTTP1_ON_END,     ENSI_HTTP1_DONE     },
    { ENSI_HTTP1_CLOSE,    ENSI_HTTP1_ON_END,     ENSI_HTTP1_DONE     }, /* by ensi_http1_end */
};

typedef struct ensi_http1_t {
    int status;              /* 200..999 once OK was given */
    size_t body_len;         /* bytes of `body` that are filled */
    const char *what;        /* of the error; NULL before one */

    ensi_names_t *names;     /* where the names of header fields are noted; NULL: nobody asks */

    uint8_t *body;           /* the caller's, `cap` bytes */
    size_t cap;
    bool connect;            /* the answer to CONNECT: 2xx has no body, of another the first bytes suffice */
    ensi_http1_state_t state;
    int rc;                  /* the first error; ENSIGN_OK before */
    size_t head_len;         /* bytes of header lines so far */
    char line[ENSI_HTTP1_LINE_MAX];
    size_t line_len;         /* of the whole line; line[] has no more than fits */
    bool cr;                 /* the last byte was a CR: only LF may follow */
    bool has_length, has_coding, chunked;
    uint64_t length;         /* Content-Length; UINT64_MAX: that or more */
    size_t left;             /* body bytes that may come, of the answer or the chunk */
} ensi_http1_t;

static int ensi_http1_fail(ensi_http1_t *x, int code, const char *what)
{
    x->what = what;
    return x->rc = code;
}

static int ensi_http1_move(ensi_http1_t *x, ensi_http1_in_t in)
{
    int to = ensi_move(ensi_http1_moves, ENSI_COUNT(ensi_http1_moves), (int)x->state, (int)in);

    if (to < 0)
        return ensi_http1_fail(x, ENSIGN_E_STATE,
                               "the reader made a move that its table does not allow; please report it");
    x->state = (ensi_http1_state_t)to;
    return ENSIGN_OK;
}

static ENSI_UNUSED void ensi_http1_init(ensi_http1_t *x, uint8_t *body, size_t cap)
{
    memset(x, 0, sizeof *x); /* state: STATUS, the first */
    x->body = body;
    x->cap = cap;
}

/* ---- words */

/* `token` of RFC 9110, section 5.6.2. */
static bool ensi_http1_is_token(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char l = ensi_lower((uint8_t)p[i]);
        if (l == '\0' || !strchr("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~", l)) return false;
    }
    return n > 0;
}

/* Cuts the next item off a list with commas. Empty items do not count (RFC 9110, section 5.6.1.2). */
static bool ensi_http1_item(ensign_slice_t *list, ensign_slice_t *item)
{
    while (list->len > 0) {
        size_t n = 0, skip;
        while (n < list->len && list->ptr[n] != ',') n++;
        skip = n < list->len ? n + 1 : n;
        *item = ensi_slice_trim(ensi_slice(list->ptr, n));
        *list = ensi_slice(list->ptr + skip, list->len - skip);
        if (item->len > 0) return true;
    }
    return false;
}

/* ---- header fields */

/* Digits, nothing else. UINT64_MAX stands for itself and all that is larger. */
static bool ensi_http1_decimal(ensign_slice_t s, uint64_t *out)
{
    uint64_t value = 0;

    for (size_t i = 0; i < s.len; i++) {
        uint64_t digit;
        if (s.ptr[i] < '0' || s.ptr[i] > '9') return false;
        digit = (uint64_t)(s.ptr[i] - '0');
        value = value > (UINT64_MAX - digit) / 10 ? UINT64_MAX : value * 10 + digit;
    }
    *out = value;
    return s.len > 0;
}

static int ensi_http1_content_length(ensi_http1_t *x, ensign_slice_t value)
{
    ensign_slice_t item;
    uint64_t length;
    bool any = false;

    for (; ensi_http1_item(&value, &item); any = true) {
        if (!ensi_http1_decimal(item, &length))
            return ensi_http1_fail(x, ENSIGN_E_PROTOCOL, "Content-Length is no number");
        if (x->has_length && length != x->length)
            return ensi_http1_fail(x, ENSIGN_E_PROTOCOL, "two Content-Length values that differ");
        x->has_length = true;
        x->length = length;
    }
    if (!any) return ensi_http1_fail(x, ENSIGN_E_PROTOCOL, "Content-Length is empty");
    return ENSIGN_OK;
}

/* Only chunked, once: we send no TE, so nothing else was offered (RFC 9112, section 7). */
static int ensi_http1_transfer_encoding(ensi_http1_t *x, ensign_slice_t value)
{
    ensign_slice_t item;

    x->has_coding = true;
    while (ensi_http1_item(&value, &item)) {
        if (x->chunked || !ensi_slice_is_word(item, "chunked"))
            return ensi_http1_fail(x, ENSIGN_E_PROTOCOL, "a Transfer-Encoding other than one chunked");
        x->chunked = true;
    }
    return ENSIGN_OK;
}

/* `Connection` says nothing to us: our request asks to close. */
static int ensi_http1_field_known(ensi_http1_t *x, ensign_slice_t name, ensign_slice_t value)
{
    bool length = ensi_slice_is_word(name, "content-length");
    bool coding = ensi_slice_is_word(name, "transfer-encoding");

    if (!length && !coding) return ENSIGN_OK;
    if (x->line_len > sizeof x->line)
        return ensi_http1_fail(x, ENSIGN_E_TOO_LARGE, "a header line about framing has over 256 bytes");
    return length ? ensi_http1_content_length(x, value) : ensi_http1_transfer_encoding(x, value);
}

/* A line of the head or of the trailers. In trailers nothing counts (RFC 9110, section 6.5.1). */
static int ensi_http1_field(ensi_http1_t *x, bool counts)
{
    size_t kept = ensi_min(x->line_len, sizeof x->line), n;
    const char *colon = (const char *)memchr(x->line, ':', kept);

    if (x->line[0] == ' ' || x->line[0] == '\t')
        return ensi_http1_fail(x, ENSIGN_E_PROTOCOL, "a folded header line (obs-fold)");
    if (!colon && x->line_len > kept)
        return ensi_http1_fail(x, ENSIGN_E_TOO_LARGE, "a header name has over 255 bytes");
    if (!colon) return ensi_http1_fail(x, ENSIGN_E_PROTOCOL, "a header line without a colon");
    n = (size_t)(colon - x->line);
    if (!ensi_http1_is_token(x->line, n))
        return ensi_http1_fail(x, ENSIGN_E_PROTOCOL,
                               "a header name is empty or has a character that no name may have");
    if (x->names) ensi_names_add(x->names, ensi_slice(x->line, n));
    if (!counts) return ENSIGN_OK;
    return ensi_http1_field_known(x, ensi_slice(x->line, n),
                                  ensi_slice_trim(ensi_slice(colon + 1, kept - n - 1)));
}

/* ---- lines */

static int ensi_http1_status_line(ensi_http1_t *x)
{
    const char *l = x->line;

    if (x->line_len < 12 || memcmp(l, "HTTP/1.", 7) != 0 || l[7] < '0' || l[7] > '9' || l[8] != ' ')
        return ensi_http1_fail(x, ENSIGN_E_PROTOCOL, "the answer does not begin with HTTP/1.x and a status");
    for (size_t i = 9; i < 12; i++) {
        if (l[i] < '0' || l[i] > '9')
            return ensi_http1_fail(x, ENSIGN_E_PROTOCOL, "the status is no number of three digits");
    }
    if (l[9] == '0' || (x->line_len > 12 && l[12] != ' '))
        return ensi_http1_fail(x, ENSIGN_E_PROTOCOL, "the status is not in 100..999");
    x->status = (l[9] - '0') * 100 + (l[10] - '0') * 10 + (l[11] - '0');
    return ensi_http1_move(x, ENSI_HTTP1_ON_STATUS);
}

/* 1xx: what it said of framing is forgotten, the bytes of its head are not. */
static int ensi_http1_interim(ensi_http1_t *x)
{
    if (x->status == 101)
        return ensi_http1_fail(x, ENSIGN_E_PROTOCOL, "status 101, but no upgrade was asked for");
    x->status = 0;
    x->has_length = x->has_coding = x->chunked = false;
    return ensi_http1_move(x, ENSI_HTTP1_ON_INTERIM);
}

/* How long the body is, by RFC 9112, section 6.3. */
static int ensi_http1_head_end(ensi_http1_t *x)
{
    if (x->status < 200) return ensi_http1_interim(x);
    if (x->status == 204 || x->status == 304) return ensi_http1_move(x, ENSI_HTTP1_ON_END);
    if (x->connect && x->status < 300) return ensi_http1_move(x, ENSI_HTTP1_ON_END); /* RFC 9110, 9.3.6 */
    if (x->has_coding && !x->chunked)
        return ensi_http1_fail(x, ENSIGN_E_PROTOCOL, "Transfer-Encoding is empty");
    if (x->chunked) return ensi_http1_move(x, ENSI_HTTP1_ON_CHUNKED);
    x->left = x->cap;
    if (!x->has_length) return ensi_http1_move(x, ENSI_HTTP1_ON_OPEN);
    if (x->length > x->cap && !x->connect)
        return ensi_http1_fail(x, ENSIGN_E_TOO_LARGE, "Content-Length is over the limit for a body");
    if (x->length < x->left) x->left = (size_t)x->length;
    return ensi_http1_move(x, x->left > 0 ? ENSI_HTTP1_ON_LENGTH : ENSI_HTTP1_ON_END);
}

/* Hex digits, then perhaps an extension, which means nothing to us. */
static int ensi_http1_size_line(ensi_http1_t *x)
{
    uint64_t size = 0;
    size_t n = 0, after;

    for (; n < x->line_len && ensi_hex((uint8_t)x->line[n]) >= 0; n++)
        size = size > UINT64_MAX >> 4 ? UINT64_MAX : size << 4 | (uint64_t)ensi_hex((uint8_t)x->line[n]);
    for (after = n; after < x->line_len && (x->line[after] == ' ' || x->line[after] == '\t');) after++;
    if (n == 0 || (after < x->line_len && x->line[after] != ';'))
        return ensi_http1_fail(x, ENSIGN_E_PROTOCOL, "the size of a chunk is no hexadecimal number");
    if (size == 0) return ensi_http1_move(x, ENSI_HTTP1_ON_LAST);
    if (size > x->cap - x->body_len)
        return ensi_http1_fail(x, ENSIGN_E_TOO_LARGE, "the chunks are together over the limit for a body");
    x->left = (size_t)size;
    return ensi_http1_move(x, ENSI_HTTP1_ON_CHUNK);
}

static int ensi_http1_line_end(ensi_http1_t *x)
{
    switch (x->state) {
    case ENSI_HTTP1_STATUS: return ensi_http1_status_line(x);
    case ENSI_HTTP1_FIELDS: return x->line_len > 0 ? ensi_http1_field(x, true) : ensi_http1_head_end(x);
    case ENSI_HTTP1_SIZE: return ensi_http1_size_line(x);
    case ENSI_HTTP1_TRAILERS:
        return x->line_len > 0 ? ensi_http1_field(x, false) : ensi_http1_move(x, ENSI_HTTP1_ON_END);
    default: return ensi_http1_move(x, ENSI_HTTP1_ON_LINE); /* DATA_END */
    }
}

/* A byte of the line itself: looked at, and kept if it is one of the first. */
static int ensi_http1_line_keep(ensi_http1_t *x, char c, bool framing)
{
    if (x->state == ENSI_HTTP1_DATA_END)
        return ensi_http1_fail(x, ENSIGN_E_PROTOCOL, "a chunk is longer than its size says");
    if (((unsigned char)c < 0x20 && c != '\t') || c == 0x7F)
        return ensi_http1_fail(x, ENSIGN_E_PROTOCOL, "a control character in a header line");
    if (x->line_len < sizeof x->line) x->line[x->line_len] = c;
    else if (framing) return ensi_http1_fail(x, ENSIGN_E_TOO_LARGE, "a chunk's size line has over 256 bytes");
    x->line_len++;
    return ENSIGN_OK;
}

/* A lone LF ends a line of the head, as RFC 9112, section 2.2 lets it; around chunks it does not: there
 * readers that disagree are a known way to smuggle. */
static int ensi_http1_line_byte(ensi_http1_t *x, char c)
{
    bool framing = x->state == ENSI_HTTP1_SIZE || x->state == ENSI_HTTP1_DATA_END;
    int rc;

    if (!framing && x->head_len == ENSI_HTTP1_HEAD_MAX)
        return ensi_http1_fail(x, ENSIGN_E_TOO_LARGE, "the header lines have together over 16384 bytes");
    if (!framing) x->head_len++;
    if (c == '\n') {
        if (framing && !x->cr)
            return ensi_http1_fail(x, ENSIGN_E_PROTOCOL, "a line of the chunks ends without CR");
        rc = ensi_http1_line_end(x);
        x->line_len = 0;
        x->cr = false;
        return rc;
    }
    if (x->cr) return ensi_http1_fail(x, ENSIGN_E_PROTOCOL, "a CR without LF");
    if (c != '\r') return ensi_http1_line_keep(x, c, framing);
    x->cr = true;
    return ENSIGN_OK;
}

/* ---- body */

/* Takes as much as may be taken of p[0..n), at least one byte, or fails and takes none. */
static int ensi_http1_take(ensi_http1_t *x, const uint8_t *p, size_t n, size_t *taken)
{
    *taken = ensi_min(n, x->left);
    if (*taken == 0)
        return ensi_http1_fail(x, ENSIGN_E_TOO_LARGE, "a body that ends at close is over the limit for one");
    memcpy(x->body + x->body_len, p, *taken);
    x->body_len += *taken;
    x->left -= *taken;
    if (x->left > 0 || x->state == ENSI_HTTP1_CLOSE) return ENSIGN_OK;
    return ensi_http1_move(x, ENSI_HTTP1_ON_FULL);
}

/* OK: the answer is whole; bytes from *used on are not of it. AGAIN: all were used, give more. */
static ENSI_UNUSED int ensi_http1_eat(ensi_http1_t *x, const uint8_t *p, size_t n, size_t *used)
{
    size_t taken;

    for (*used = 0; x->rc == ENSIGN_OK && x->state != ENSI_HTTP1_DONE; *used += taken) {
        if (*used == n) return ENSIGN_AGAIN;
        taken = 1;
        if (x->state == ENSI_HTTP1_LENGTH || x->state == ENSI_HTTP1_DATA || x->state == ENSI_HTTP1_CLOSE)
            (void)ensi_http1_take(x, p + *used, n - *used, &taken); /* an error shows in rc */
        else
            (void)ensi_http1_line_byte(x, (char)p[*used]);
    }
    return x->rc;
}

/* The peer closed its side. */
static ENSI_UNUSED int ensi_http1_end(ensi_http1_t *x)
{
    if (x->rc != ENSIGN_OK || x->state == ENSI_HTTP1_DONE) return x->rc;
    if (x->state == ENSI_HTTP1_CLOSE) return ensi_http1_move(x, ENSI_HTTP1_ON_END);
    return ensi_http1_fail(x, ENSIGN_E_CLOSED, x->head_len == 0 ? "the peer closed before an answer came"
                                               : "the peer closed before the answer was whole");
}

/* ---- request */

/* No control characters, so that no text can begin a line of its own; no blanks either, where `solid`. */
static bool ensi_http1_clean(const char *s, bool solid)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7F || (solid && *s == ' ')) return false;
    return true;
}

/* Writes text after text into `out`. E_TOO_LARGE: cap. */
static int ensi_http1_join(char *out, size_t cap, size_t *len, const char *const *parts, size_t count)
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(parts[i]);
        if (n > cap - at) return ENSIGN_E_TOO_LARGE;
        memcpy(out + at, parts[i], n);
        at += n;
    }
    *len = at;
    return ENSIGN_OK;
}

/* A request for a tunnel to `host`, with its port. basic NULL: without credentials. E_TOO_LARGE: cap. */
static int ensi_http1_connect(char *out, size_t cap, size_t *len, const char *host, const char *user_agent,
                              const char *basic)
{
    const char *const parts[] = {
        "CONNECT ", host, " HTTP/1.1\r\nHost: ", host, "\r\nUser-Agent: ", user_agent,
        basic ? "\r\nProxy-Authorization: Basic " : "", basic ? basic : "", "\r\n\r\n",
    };
    return ensi_http1_join(out, cap, len, parts, ENSI_COUNT(parts));
}

/* The beginning of a body as words for a text: without tags, what stands in <style>, and rows of blanks. */
static void ensi_http1_words(ensign_slice_t body, char *out, size_t cap)
{
    size_t at = 0;
    bool gap = false, tag = false, style = false;
    for (size_t i = 0; i < body.len && at + 2 < cap; i++) {
        uint8_t c = body.ptr[i];
        ensign_slice_t rest = ensi_slice(body.ptr + i, body.len - i);
        if (c == '<') tag = true;
        if (rest.len > 6 && ensi_slice_is_word(ensi_slice(rest.ptr, 6), "<style")) style = true;
        if (rest.len > 7 && ensi_slice_is_word(ensi_slice(rest.ptr, 7), "</style")) style = false;
        if (!tag && !style && c > ' ') {
            if (gap && at > 0) out[at++] = ' ';
            out[at++] = c < 0x7F ? (char)c : '?';
        }
        gap = tag || style || c <= ' ';
        if (c == '>') tag = false;
    }
    out[at] = '\0';
}

/* body NULL: none; else it is JSON. The peer is asked to close: one answer a connection. user_agent NULL: no
 * such line. E_ARGUMENT: a method, path, host or user agent that cannot stand there. E_TOO_LARGE: cap. */
static ENSI_UNUSED int ensi_http1_request(char *out, size_t cap, size_t *len, const char *method,
                                          const char *path, const char *host, const char *user_agent,
                                          const char *body, size_t body_len)
{
    char digits[24];
    size_t head;
    int rc;
    const char *const parts[] = {
        method, " ", path, " HTTP/1.1\r\nHost: ", host,
        user_agent ? "\r\nUser-Agent: " : "", user_agent ? user_agent : "",
        body ? "\r\nAccept: application/json\r\nContent-Type: application/json\r\nContent-Length: " : "",
        body ? digits : "", "\r\nConnection: close\r\n\r\n",
    };

    if (!ensi_http1_is_token(method, strlen(method)) || path[0] != '/') return ENSIGN_E_ARGUMENT;
    if (!ensi_http1_clean(path, true)) return ENSIGN_E_ARGUMENT;
    if (host[0] == '\0' || !ensi_http1_clean(host, true)) return ENSIGN_E_ARGUMENT;
    if (user_agent && !ensi_http1_clean(user_agent, false)) return ENSIGN_E_ARGUMENT;
    ensi_fmt(digits, sizeof digits, "%lu", (unsigned long)body_len);
    rc = ensi_http1_join(out, cap, &head, parts, ENSI_COUNT(parts));
    if (rc != ENSIGN_OK) return rc;
    if (!body) body_len = 0;
    if (body_len > cap - head) return ENSIGN_E_TOO_LARGE;
    if (body_len > 0) memcpy(out + head, body, body_len);
    *len = head + body_len;
    return ENSIGN_OK;
}

#ifdef ENSIGN_GZIP
/* >>gzip   may call: util mem
 * gzip by zlib: one message at a time is compressed, or decompressed
 *
 * Owns   zlib's two states. A client has one of each, whatever the number of its calls, for each message is
 *        dealt with in one go. Each is taken when it is first needed, and kept until ensi_gzip_close.
 * Holds  all that zlib takes comes from the allocator: at most ENSI_GZIP_BYTES.
 *        What is decompressed grows in its buffer with what really comes: by doubling, and to one byte more
 *        than is allowed, which tells a message that is too large. A length that the peer claims is not
 *        believed before it is there.
 *        A message may have several members (RFC 1952, 2.2), as grpc-go and grpc-java read them, and nothing
 *        behind the last. zlib checks each one's CRC and length.
 * Fails  with nothing of a message that is bad. What is wrong is told by a constant text. */
#include <zlib.h>

enum {
    ENSI_GZIP_BITS = 15 + 16,       /* zlib: a window of 32 KiB, with gzip's header and trailer */
    ENSI_GZIP_MEMBER = 0x1F,        /* the first byte of each member */
    ENSI_GZIP_EFFORT = 8,           /* zlib's default memLevel, for which it has no name */
    ENSI_GZIP_BYTES = 416 * 1024    /* of both states: zlib 1.2 takes 302 KiB, zlib-ng 2.2 up to 400 */
};

typedef struct ensi_gzip_t {
    z_stream out, in;                   /* for what is sent, for what comes */
    bool compresses, decompresses;      /* zlib has the state of the one, of the other */
} ensi_gzip_t;

static voidpf ensi_gzip_take(voidpf mem, uInt items, uInt size)
{
    if (size != 0 && items > SIZE_MAX / size) return NULL;
    return ensi_mem_take((ensi_mem_t *)mem, (size_t)items * size);
}

static void ensi_gzip_free(voidpf mem, voidpf p)
{
    ensi_mem_free((ensi_mem_t *)mem, p);
}

static void ensi_gzip_stream(z_stream *z, ensi_mem_t *m)
{
    memset(z, 0, sizeof *z);
    z->zalloc = ensi_gzip_take;
    z->zfree = ensi_gzip_free;
    z->opaque = m;
}

/* Makes ready to compress. False: no memory. */
static bool ensi_gzip_open(ensi_gzip_t *g, ensi_mem_t *m)
{
    if (g->compresses) return true;
    ensi_gzip_stream(&g->out, m);
    g->compresses = deflateInit2(&g->out, Z_DEFAULT_COMPRESSION, Z_DEFLATED, ENSI_GZIP_BITS,
                                 ENSI_GZIP_EFFORT, Z_DEFAULT_STRATEGY) == Z_OK;
    return g->compresses;
}

static void ensi_gzip_close(ensi_gzip_t *g)
{
    if (g->compresses) deflateEnd(&g->out);
    if (g->decompresses) inflateEnd(&g->in);
    g->compresses = g->decompresses = false;
}

/* Gives zlib the bytes of a message: up to ENSI_GRPC_BYTES_MAX of them, so that they fit its 32 bits. */
static void ensi_gzip_feed(z_stream *z, ensign_slice_t message)
{
    z->next_in = (Bytef *)(uintptr_t)message.ptr; /* not written to; the type lacks const */
    z->avail_in = (uInt)message.len;
}

/* Compresses a message to `out`, which has room for its bytes as they are. Returns the new length; 0: it does
 * not get smaller, and `out` has nothing of use. */
static size_t ensi_gzip_compress(ensi_gzip_t *g, ensign_slice_t message, uint8_t *out)
{
    if (message.len < 2) return 0;
    deflateReset(&g->out);
    ensi_gzip_feed(&g->out, message);
    g->out.next_out = out;
    g->out.avail_out = (uInt)(message.len - 1);
    if (deflate(&g->out, Z_FINISH) != Z_STREAM_END) return 0;
    return message.len - 1 - g->out.avail_out;
}

/* Makes the buffer larger: to `first`, then to the double, up to a byte over the limit. */
static int ensi_gzip_grow(ensi_mem_t *m, ensi_buf_t *out, size_t first, size_t limit)
{
    size_t cap = ensi_min(out->cap ? 2 * out->cap : first, limit + 1);
    uint8_t *p;
    if (out->end > limit) return ENSIGN_E_TOO_LARGE;
    p = (uint8_t *)ensi_mem_resize(m, out->ptr, cap);
    if (!p) return ENSIGN_E_MEMORY;
    out->ptr = p;
    out->cap = cap;
    return ENSIGN_OK;
}

/* Lets zlib go on until it has no more room or input. OK: all of the input is decompressed; AGAIN: it needs
 * more room. */
static int ensi_gzip_run(z_stream *z, ensi_buf_t *out, const char **why)
{
    int rc;
    z->next_out = out->ptr + out->end;
    z->avail_out = (uInt)(out->cap - out->end);
    while ((rc = inflate(z, Z_NO_FLUSH)) == Z_STREAM_END && z->avail_in > 0) {
        *why = "it has bytes behind its end";
        if (z->next_in[0] != ENSI_GZIP_MEMBER) return ENSIGN_E_FORMAT;
        inflateReset(z);
    }
    out->end = out->cap - z->avail_out;
    if (rc == Z_STREAM_END) return ENSIGN_OK;
    if (rc == Z_MEM_ERROR) return ENSIGN_E_MEMORY;
    *why = z->msg ? z->msg : "it is broken";
    if (rc != Z_OK && rc != Z_BUF_ERROR) return ENSIGN_E_FORMAT;
    *why = "it is cut short";
    return z->avail_out == 0 ? ENSIGN_AGAIN : ENSIGN_E_FORMAT;
}

/* Decompresses a message into `out`, whose block is used again: it becomes `first` bytes large, or as many
 * more as are needed. E_TOO_LARGE: over `limit` bytes; E_MEMORY; E_FORMAT: *why tells what is wrong. */
static int ensi_gzip_decompress(ensi_gzip_t *g, ensi_mem_t *m, ensign_slice_t message, ensi_buf_t *out,
                                size_t first, size_t limit, const char **why)
{
    int rc = ENSIGN_AGAIN;
    if (!g->decompresses) {
        ensi_gzip_stream(&g->in, m);
        if (inflateInit2(&g->in, ENSI_GZIP_BITS) != Z_OK) return ENSIGN_E_MEMORY;
        g->decompresses = true;
    }
    inflateReset(&g->in);
    ensi_gzip_feed(&g->in, message);
    out->end = 0;
    while (rc == ENSIGN_AGAIN) {
        rc = out->end < out->cap ? ENSIGN_OK : ensi_gzip_grow(m, out, first, limit);
        if (rc == ENSIGN_OK) rc = ensi_gzip_run(&g->in, out, why);
    }
    if (rc == ENSIGN_OK && out->end > limit) return ENSIGN_E_TOO_LARGE;
    return rc;
}
#endif

#ifndef ENSIGN_NO_TLS
/* >>tls   may call: util
 *         open to: link create
 * TLS over memory, by mbedTLS
 *
 * mbedTLS 2.28 and 3.6 from one source: where they differ there is an #if, here and nowhere else.
 *
 * Owns   ensi_tls_conf_t, one a kind of link: configuration, trust store, our own certificate and key, DRBG.
 *        Zero is "not open"; it outlives the connections opened on it. ensi_tls_t, one a connection: the ssl
 *        context, and what is known of why the peer was refused. Neither may move while open.
 *        ensi_tls_saved_t, one an endpoint: the session that the next connection can resume. Zero is "none".
 *        The heap is mbedTLS's own, about 34 KB a connection, and 1 to 4 KB a saved session, which has the
 *        ticket and the server's certificate; the alloc hook is not asked.
 * Holds  The host name is always set, so it is always checked; insecure_skip_verify is the only way out,
 *        and then nothing of the certificate is checked. ignore_dates takes the flags EXPIRED and FUTURE
 *        off each certificate of the chain, inside the verify callback, and no other flag. An IP address as
 *        server name: 2.28 compares dNSName entries alone, so the callback compares the bytes of the
 *        iPAddress entries, in both versions; only a match takes off the mismatch flag. The SNI has the
 *        address too: mbedTLS cannot set the one without the other. TLS 1.2 at least, no renegotiation.
 *        ChaCha20 first: mbedTLS's AES is the slower one. With alpn_h2 a handshake that
 *        does not end in "h2" has failed. tx gets whole records or nothing, and a write is refused unless
 *        all of its records fit, so that mbedTLS never stops half way: it would then report success for
 *        bytes that it did not take (mbedtls#10258). rx is read from start to end; nothing is moved there.
 *        A resumed handshake shows no certificate, so nothing is verified in it. A session is therefore
 *        offered only to the endpoint and server name that it was verified for, with the same configuration,
 *        and within ENSI_TLS_RESUME_MS of the full handshake that it descends from. Offering takes it out:
 *        only a handshake that succeeds (TLS 1.2), or a ticket that comes behind one (TLS 1.3), puts one
 *        back. After an error nothing is saved. TLS 1.3 resumes with new key shares only.
 * Moves  open, perhaps resume; handshake until OK; then read and write in any order; bye; close. AGAIN: call
 *        again when rx has bytes or tx room. Repeat a read until AGAIN: decrypted bytes wait inside while rx
 *        is empty. A new session ticket is not an error on any call; a read saves it. The first error is
 *        final, later calls return its code. tx may then hold our alert: send it, then close.
 * Fails  E_CERTIFICATE: chain, dates, use. E_HOSTNAME. E_ALPN. E_MEMORY. E_CLOSED: close_notify after the
 *        handshake, an orderly end, with `native` 0. Else E_TLS. `native` is mbedTLS's code. A cut connection
 *        is the caller's to see.
 *
 * The random hook feeds the DRBG. With 3.6 and TLS 1.3 the key shares come from PSA's own generator, which
 * the hook does not reach (mbedTLS's MBEDTLS_PSA_CRYPTO_EXTERNAL_RNG is for that); PSA is global in mbedTLS,
 * and left on. An mbedTLS without MBEDTLS_HAVE_TIME_DATE checks no dates. */

#include <limits.h>
#include <mbedtls/version.h>
#include <mbedtls/asn1.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/pem.h>
#include <mbedtls/pk.h>
#include <mbedtls/platform.h>
#include <mbedtls/platform_util.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ciphersuites.h>
#include <mbedtls/x509.h>
#include <mbedtls/x509_crt.h>
#if MBEDTLS_VERSION_NUMBER >= 0x03000000 && defined(MBEDTLS_PSA_CRYPTO_C)
#include <psa/crypto.h>
#endif

enum {
    ENSI_TLS_PLAIN_MAX = 16384,     /* bytes of application data in a record (RFC 8446, 5.1) */
    ENSI_TLS_HEAD_BYTES = 5,        /* a record's header: type, version, length */
    ENSI_TLS_HOST_MAX = 253,        /* characters of a DNS name */
    ENSI_TLS_NAMES_MAX = 64,        /* bytes of names out of a certificate that an error text shows */
    ENSI_TLS_RANDOM_BYTES = 32,     /* of a hello (RFC 8446, 4.1.2) */
    ENSI_TLS_SECRET_MAX = 64,       /* bytes of a secret in the key log; TLS has 48 at most */
    ENSI_TLS_RESUME_MS = 24 * 60 * 60 * 1000    /* from a full handshake to the last that resumes it */
};

#if MBEDTLS_VERSION_NUMBER >= 0x03020000 && defined(MBEDTLS_SSL_PROTO_TLS1_3)
#define ENSI_TLS_HAS_1_3 1
#else
#define ENSI_TLS_HAS_1_3 0
#endif
#if MBEDTLS_VERSION_NUMBER >= 0x03000000 || defined(MBEDTLS_SSL_EXPORT_KEYS)
#define ENSI_TLS_HAS_KEY_LOG 1
#else
#define ENSI_TLS_HAS_KEY_LOG 0
#endif
/* Members that are private by name in 3.x. */
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
#define ENSI_TLS_MEMBER(x) MBEDTLS_PRIVATE(x)
#else
#define ENSI_TLS_MEMBER(x) x
#endif

typedef struct {
    const char *ca_file;            /* PEM; NULL with ca_pem.ptr NULL: the system's bundle */
    ensign_slice_t ca_pem;          /* instead of a file where .ptr is set; a final NUL may be there or not */
    const char *cert_file, *key_file, *key_password;    /* our own certificate; all NULL: none */
    ensign_slice_t cert_pem, key_pem;       /* instead of the files where .ptr is set */
    int min_version;                /* ENSIGN_TLS_x; 0: 1.2 */
    bool ignore_dates, insecure_skip_verify, alpn_h2, no_resume;
    int (*random)(void *, void *, size_t);  /* 0: filled; NULL: the system's entropy */
    void (*key_log)(void *, const char *);  /* NULL: none */
    void *user;
} ensi_tls_opts_t;

typedef struct {
    bool open;
    ensi_tls_opts_t opts;           /* its CA, certificate and key are read at open and not later */
    const char *trust;              /* where the trust store came from, for texts; a literal */
    const char *alpn[2];            /* mbedTLS keeps a pointer to it */
    mbedtls_ssl_config config;
    mbedtls_x509_crt ca;
    mbedtls_x509_crt own;           /* the client's certificate and its chain */
    mbedtls_pk_context key;
    mbedtls_ctr_drbg_context drbg;
} ensi_tls_conf_t;

/* What is wrong with a chain; the worst is reported, as the lesser may only follow from it. */
typedef enum {
    ENSI_TLS_FINE, ENSI_TLS_BAD_NAME, ENSI_TLS_BAD_USE, ENSI_TLS_BAD_DATE, ENSI_TLS_BAD_CHAIN
} ensi_tls_cause_t;

typedef struct {
    ensi_tls_cause_t cause;
    uint32_t flags;                 /* MBEDTLS_X509_BADCERT_x of the certificate */
    int depth;                      /* 0: the server's own */
    bool self_signed;
    bool unread;                    /* mbedTLS could not read it, and knows nothing of it */
    mbedtls_x509_time from, to;
    const char *no_host;            /* BAD_NAME: what its SAN has in place of hosts; NULL: there are some */
    char names[ENSI_TLS_NAMES_MAX]; /* BAD_NAME: who it is for; BAD_CHAIN: its issuer; else its subject */
} ensi_tls_bad_t;

/* A session that can be resumed, and with whom. */
typedef struct {
    bool any;
    char host[ENSI_TLS_HOST_MAX + 1];   /* of the endpoint */
    uint16_t port;
    char name[ENSI_TLS_HOST_MAX + 1];   /* that the certificate was verified for */
    uint64_t verified_ms;           /* when the full handshake was begun that it descends from */
    mbedtls_ssl_session session;
} ensi_tls_saved_t;

typedef struct {
    bool open, up;                  /* up: the handshake is over */
    bool starved;                   /* mbedTLS asked for bytes, and rx had none */
    bool offered, full;             /* a session was offered; the server began to show its certificate */
    int end;                        /* the first error; ENSIGN_OK before */
    size_t held;                    /* bytes of a record that mbedTLS has ready and tx had no room for */
    size_t head_len;
    uint8_t head[ENSI_TLS_HEAD_BYTES]; /* what the peer sent first: tells a server without TLS */
    size_t ip_len;                  /* 0: server_name is a name; 4, 16: an address, in `ip` */
    uint8_t ip[16];
    ensi_tls_conf_t *conf;
    ensi_buf_t *rx, *tx;
    char host[ENSI_TLS_HOST_MAX + 1];   /* the server name */
    char where[64];                 /* host:port of the texts */
    ensi_tls_bad_t bad;
    ensi_tls_saved_t *saved;        /* where sessions go; NULL: nowhere */
    const char *endpoint;           /* saved: of this host */
    uint16_t port;
    uint64_t verified_ms;           /* saved: see there */
    mbedtls_ssl_context ssl;
} ensi_tls_t;

static const int ensi_tls_suites[] = {
#ifdef MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256
    MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
    MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
#endif
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    0
};

#if ENSI_TLS_HAS_1_3
/* mbedTLS's own order has RSA-PSS before PKCS #1: a server without TLS 1.3 then signs its key exchange with
 * RSA-PSS, which mbedTLS does not take in TLS 1.2. In TLS 1.3 PKCS #1 does not count. */
static const uint16_t ensi_tls_signatures[] = {
    MBEDTLS_TLS1_3_SIG_ECDSA_SECP256R1_SHA256,
    MBEDTLS_TLS1_3_SIG_ECDSA_SECP384R1_SHA384,
    MBEDTLS_TLS1_3_SIG_ECDSA_SECP521R1_SHA512,
    MBEDTLS_TLS1_3_SIG_RSA_PKCS1_SHA256,
    MBEDTLS_TLS1_3_SIG_RSA_PKCS1_SHA384,
    MBEDTLS_TLS1_3_SIG_RSA_PKCS1_SHA512,
    MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA256,
    MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA384,
    MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA512,
    MBEDTLS_TLS1_3_SIG_NONE
};
#endif

/* ---- results of mbedTLS */

/* The one list of returns that only mean "go on": a ticket was stored away, nothing is wrong, nothing is
 * waited for. */
static bool ensi_tls_is_news(int rc)
{
#ifdef MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET
    return rc == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET;
#else
    (void)rc;
    return false;
#endif
}

/* The one list of returns that mean "not yet". */
static bool ensi_tls_is_again(int rc)
{
    return rc == MBEDTLS_ERR_SSL_WANT_READ || rc == MBEDTLS_ERR_SSL_WANT_WRITE ||
           rc == MBEDTLS_ERR_SSL_ASYNC_IN_PROGRESS || rc == MBEDTLS_ERR_SSL_CRYPTO_IN_PROGRESS;
}

/* mbedTLS adds a low-level code (7 bits) to a high-level one. */
static bool ensi_tls_is_memory(int rc)
{
    enum { LOW_BITS = 0x7F };
    int low = -rc & LOW_BITS;

    if (low == -MBEDTLS_ERR_MPI_ALLOC_FAILED || low == -MBEDTLS_ERR_ASN1_ALLOC_FAILED) return true;
    switch (rc) {
    case MBEDTLS_ERR_SSL_ALLOC_FAILED:
    case MBEDTLS_ERR_X509_ALLOC_FAILED:
    case MBEDTLS_ERR_PK_ALLOC_FAILED:
    case MBEDTLS_ERR_PEM_ALLOC_FAILED:
    case MBEDTLS_ERR_ECP_ALLOC_FAILED:
    case MBEDTLS_ERR_MD_ALLOC_FAILED:
    case MBEDTLS_ERR_CIPHER_ALLOC_FAILED: return true;
    default: return false;
    }
}

/* What mbedTLS means, without mbedtls_strerror: its table is 20 KB of every program. */
static const char *ensi_tls_meaning(int rc)
{
    switch (rc) {
    case MBEDTLS_ERR_SSL_INVALID_MAC: return "a record was changed on its way";
    case MBEDTLS_ERR_SSL_INVALID_RECORD: return "what came is not a TLS record";
    case MBEDTLS_ERR_SSL_UNEXPECTED_MESSAGE: return "a message came out of turn";
    case MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL: return "a record is larger than the send buffer";
    case MBEDTLS_ERR_SSL_FEATURE_UNAVAILABLE: return "it asks for what this mbedTLS was built without";
#ifdef MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE    /* 3.x */
    case MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION: return "it wants a TLS version below 1.2";
    case MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE: return "nothing in common, or a wrong signature";
    case MBEDTLS_ERR_SSL_DECODE_ERROR: return "a message is malformed";
    case MBEDTLS_ERR_SSL_ILLEGAL_PARAMETER: return "it answered with what we did not offer";
#else
    case MBEDTLS_ERR_SSL_BAD_HS_PROTOCOL_VERSION: return "it wants a TLS version below 1.2";
    case MBEDTLS_ERR_SSL_BAD_HS_SERVER_HELLO:
        return "its ServerHello is malformed or has what we did not offer";
    case MBEDTLS_ERR_SSL_BAD_HS_SERVER_KEY_EXCHANGE: return "its key exchange is malformed or wrongly signed";
    case MBEDTLS_ERR_SSL_BAD_HS_FINISHED: return "the two sides saw different handshakes";
#endif
    default: return "mbedTLS refused it";
    }
}

/* ---- certificates and keys that are given to us */

/* Returns what mbedTLS lacks when it cannot read a certificate or a key; NULL: that is not why. */
static const char *ensi_tls_lack(int rc)
{
    enum { LOW_BITS = 0x7F };

    if ((-rc & ~LOW_BITS) == -MBEDTLS_ERR_X509_UNKNOWN_SIG_ALG)
        return "it is signed by an algorithm that mbedTLS lacks, such as Ed25519";
    if (rc == MBEDTLS_ERR_PK_UNKNOWN_PK_ALG)
        return "its kind of key is one that mbedTLS lacks, such as Ed25519 or RSA-PSS";
    if (rc == MBEDTLS_ERR_PK_UNKNOWN_NAMED_CURVE) return "its key is on a curve that mbedTLS lacks";
    return NULL;
}

/* `field` of the desc gave what `name` says. */
static int ensi_tls_fail_pem(const char *field, const char *name, int rc, ensign_error_t *e)
{
    const char *lack = ensi_tls_lack(rc);

    if (ensi_tls_is_memory(rc))
        return ensi_fail(e, ENSIGN_E_MEMORY, rc, "tls: no memory for the certificates of %.100s", name);
    if (lack)
        return ensi_fail(e, ENSIGN_E_FORMAT, rc,
                         "tls: mbedTLS cannot read the certificate of %.60s: %s (-0x%04X); use RSA or ECDSA",
                         name, lack, (unsigned)-rc);
    return ensi_fail(e, ENSIGN_E_FORMAT, rc,
                     "tls: %.85s has no certificate that mbedTLS can read (%s, -0x%04X); %s must hold PEM, "
                     "\"-----BEGIN CERTIFICATE-----\" and so on",
                     name, rc == MBEDTLS_ERR_X509_CERT_UNKNOWN_FORMAT ? "neither PEM nor DER" : "malformed",
                     (unsigned)-rc, field);
}

/* Returns a copy that ends in the NUL which mbedTLS wants; *len counts it. Returns NULL without memory. */
static unsigned char *ensi_tls_pem_copy(ensign_slice_t pem, size_t *len)
{
    unsigned char *copy;

    if (pem.len > 0 && pem.ptr[pem.len - 1] == '\0') pem.len--;
    copy = pem.len < SIZE_MAX ? (unsigned char *)mbedtls_calloc(1, pem.len + 1) : NULL;
    if (copy && pem.len > 0) memcpy(copy, pem.ptr, pem.len);
    *len = pem.len + 1;
    return copy;
}

/* What mbedtls_x509_crt_parse returns. */
static int ensi_tls_parse_certificates(mbedtls_x509_crt *to, ensign_slice_t pem)
{
    size_t len;
    unsigned char *copy = ensi_tls_pem_copy(pem, &len);
    int rc = copy ? mbedtls_x509_crt_parse(to, copy, len) : MBEDTLS_ERR_X509_ALLOC_FAILED;

    mbedtls_free(copy);
    return rc;
}

#if !defined(ENSIGN_NO_STDIO) && defined(MBEDTLS_FS_IO)
/* 0, or errno of the attempt. */
static int ensi_tls_unreadable(const char *path)
{
    FILE *f;

    errno = 0;
    f = fopen(path, "rb");
    if (!f) return errno != 0 ? errno : ENOENT;
    fclose(f);
    return 0;
}
#endif

/* Returns OK when the file can be read; `field` is the desc's, `pem` the one to use instead. */
static int ensi_tls_find_file(const char *field, const char *pem, const char *path, ensign_error_t *e)
{
#if defined(ENSIGN_NO_STDIO) || !defined(MBEDTLS_FS_IO)
    return ensi_fail(e, ENSIGN_E_FILE, 0,
                     "tls: %s %.70s cannot be read, this build has no files (ENSIGN_NO_STDIO, or mbedTLS "
                     "without MBEDTLS_FS_IO); put what is in it in tls.%s",
                     field, path, pem);
#else
    int rc = ensi_tls_unreadable(path);

    (void)pem;
    if (rc == 0) return ENSIGN_OK;
    return ensi_fail(e, ENSIGN_E_FILE, rc,
                     "tls: %s %.100s cannot be read: %s; set tls.%s to a readable PEM file", field, path,
                     strerror(rc), field);
#endif
}

/* ---- trust store */

/* mbedTLS counts the certificates that it could not read: one good one is enough, as a store with less in it
 * trusts less. */
static int ensi_tls_trust_pem(ensi_tls_conf_t *t, ensign_slice_t pem, ensign_error_t *e)
{
    int rc = ensi_tls_parse_certificates(&t->ca, pem);

    t->trust = "tls.ca_pem";
    return rc >= 0 ? ENSIGN_OK : ensi_tls_fail_pem(t->trust, t->trust, rc, e);
}

#if defined(ENSIGN_NO_STDIO) || !defined(MBEDTLS_FS_IO)
static int ensi_tls_trust_file(ensi_tls_conf_t *t, const char *path, ensign_error_t *e)
{
    (void)t;
    if (path) return ensi_tls_find_file("ca_file", "ca_pem", path, e);
    return ensi_fail(e, ENSIGN_E_FILE, 0,
                     "tls: no trusted CA, and this build has no files (ENSIGN_NO_STDIO, or mbedTLS without "
                     "MBEDTLS_FS_IO) to read the system's bundle; set tls.ca_pem");
}
#else
static int ensi_tls_trust_system(ensi_tls_conf_t *t, ensign_error_t *e)
{
    static const char *const bundles[] = {
        "/etc/ssl/certs/ca-certificates.crt",       /* Debian, Alpine, Arch */
        "/etc/pki/tls/certs/ca-bundle.crt",         /* Fedora, RHEL */
        "/etc/ssl/cert.pem",                        /* macOS, FreeBSD, OpenBSD, Alpine */
        "/usr/local/share/certs/ca-root-nss.crt",   /* FreeBSD's ca_root_nss */
    };

    for (size_t i = 0; i < ENSI_COUNT(bundles); i++) {
        int rc;
        if (ensi_tls_unreadable(bundles[i])) continue;
        t->trust = bundles[i];
        rc = mbedtls_x509_crt_parse_file(&t->ca, bundles[i]);
        return rc >= 0 ? ENSIGN_OK : ensi_tls_fail_pem(t->trust, bundles[i], rc, e);
    }
    return ensi_fail(e, ENSIGN_E_FILE, 0, "tls: no CA bundle at %s, %s, %s, %s; "
                     "install ca-certificates or set tls.ca_file or ca_pem",
                     bundles[0], bundles[1], bundles[2], bundles[3]);
}

static int ensi_tls_trust_file(ensi_tls_conf_t *t, const char *path, ensign_error_t *e)
{
    int rc;

    if (!path) return ensi_tls_trust_system(t, e);
    t->trust = "tls.ca_file";
    rc = ensi_tls_find_file("ca_file", "ca_pem", path, e);
    if (rc != ENSIGN_OK) return rc;
    rc = mbedtls_x509_crt_parse_file(&t->ca, path);
    return rc >= 0 ? ENSIGN_OK : ensi_tls_fail_pem(t->trust, path, rc, e);
}
#endif

/* ---- our own certificate */

static int ensi_tls_own_certificate(ensi_tls_conf_t *t, ensign_error_t *e)
{
    const ensi_tls_opts_t *o = &t->opts;
    const char *field = o->cert_pem.ptr ? "tls.cert_pem" : "tls.cert_file";
    const char *name = o->cert_pem.ptr ? field : o->cert_file;
    int rc = o->cert_pem.ptr ? (int)ENSIGN_OK : ensi_tls_find_file("cert_file", "cert_pem", name, e);

    if (rc != ENSIGN_OK) return rc;
    rc = MBEDTLS_ERR_X509_CERT_UNKNOWN_FORMAT;
    if (o->cert_pem.ptr) rc = ensi_tls_parse_certificates(&t->own, o->cert_pem);
#if !defined(ENSIGN_NO_STDIO) && defined(MBEDTLS_FS_IO)
    else rc = mbedtls_x509_crt_parse_file(&t->own, name);
#endif
    if (rc == 0) return ENSIGN_OK;
    if (rc < 0) return ensi_tls_fail_pem(field, name, rc, e);
    return ensi_fail(e, ENSIGN_E_FORMAT, 0,
                     "tls: mbedTLS cannot read %d of the certificates in %.100s; each must be PEM, of an RSA "
                     "or EC key, and signed with one", rc, name);
}

/* The code of mbedTLS's parser of keys becomes ours. Neither key nor password is shown. */
static int ensi_tls_fail_key(const ensi_tls_conf_t *t, const char *name, int rc, ensign_error_t *e)
{
    const char *lack = ensi_tls_lack(rc);

    if (ensi_tls_is_memory(rc))
        return ensi_fail(e, ENSIGN_E_MEMORY, rc, "tls: no memory for the key of %.100s", name);
    if (rc == MBEDTLS_ERR_PK_PASSWORD_REQUIRED)
        return ensi_fail(e, ENSIGN_E_ARGUMENT, rc,
                         "tls: the key of %.100s is encrypted; set tls.key_password to its password", name);
    if (rc == MBEDTLS_ERR_PK_PASSWORD_MISMATCH)
        return ensi_fail(e, ENSIGN_E_ARGUMENT, rc,
                         "tls: the password in tls.key_password does not decrypt the key of %.100s; set the "
                         "one that it was encrypted with", name);
    if (lack)
        return ensi_fail(e, ENSIGN_E_FORMAT, rc,
                         "tls: mbedTLS cannot read the key of %.60s: %s (-0x%04X); use an RSA key, or an EC "
                         "key on P-256", name, lack, (unsigned)-rc);
    if (rc != MBEDTLS_ERR_PK_KEY_INVALID_FORMAT && t->opts.key_password)
        return ensi_fail(e, ENSIGN_E_FORMAT, rc,
                         "tls: mbedTLS cannot decrypt the key of %.80s (-0x%04X), it may lack the cipher; "
                         "convert it with openssl pkcs8 -topk8 -v2 des3", name, (unsigned)-rc);
    return ensi_fail(e, ENSIGN_E_FORMAT, rc,
                     "tls: %.80s has no private key that mbedTLS can read (-0x%04X); it must hold PEM, "
                     "\"-----BEGIN PRIVATE KEY-----\" and so on", name, (unsigned)-rc);
}

/* 2.28 draws no random numbers to read a key. */
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
#define ENSI_TLS_RNG(drbg) , mbedtls_ctr_drbg_random, drbg
#else
#define ENSI_TLS_RNG(drbg)
#endif

/* What mbedtls_pk_parse_key returns. The DRBG is seeded. */
static int ensi_tls_parse_key(ensi_tls_conf_t *t)
{
    const ensi_tls_opts_t *o = &t->opts;
    const char *password = o->key_password;
    size_t len, password_len = password ? strlen(password) : 0;
    unsigned char *copy;
    int rc;

#if !defined(ENSIGN_NO_STDIO) && defined(MBEDTLS_FS_IO)
    if (!o->key_pem.ptr)
        return mbedtls_pk_parse_keyfile(&t->key, o->key_file, password ENSI_TLS_RNG(&t->drbg));
#endif
    copy = ensi_tls_pem_copy(o->key_pem, &len);
    if (!copy) return MBEDTLS_ERR_PK_ALLOC_FAILED;
    rc = mbedtls_pk_parse_key(&t->key, copy, len, (const unsigned char *)password,
                              password_len ENSI_TLS_RNG(&t->drbg));
    ensi_wipe(copy, len);
    mbedtls_free(copy);
    return rc;
}

static int ensi_tls_own_key(ensi_tls_conf_t *t, ensign_error_t *e)
{
    const ensi_tls_opts_t *o = &t->opts;
    const char *name = o->key_pem.ptr ? "tls.key_pem" : o->key_file;
    const char *of = o->cert_pem.ptr ? "tls.cert_pem" : o->cert_file;
    int rc = o->key_pem.ptr ? (int)ENSIGN_OK : ensi_tls_find_file("key_file", "key_pem", name, e);

    if (rc != ENSIGN_OK) return rc;
    rc = ensi_tls_parse_key(t);
    if (rc != 0) return ensi_tls_fail_key(t, name, rc, e);
    rc = mbedtls_pk_check_pair(&t->own.pk, &t->key ENSI_TLS_RNG(&t->drbg));
    if (rc == 0) return ENSIGN_OK;
    if (ensi_tls_is_memory(rc)) return ensi_tls_fail_key(t, name, rc, e);
    return ensi_fail(e, ENSIGN_E_ARGUMENT, rc,
                     "tls: the key of %.50s does not belong to the first certificate of %.50s; set key "
                     "and certificate of one pair, with the certificate before its chain", name, of);
}

static bool ensi_tls_has_own(const ensi_tls_opts_t *o)
{
    return o->cert_file || o->cert_pem.ptr;
}

/* ---- the key log */

static char *ensi_tls_put_hex(char *out, const unsigned char *p, size_t len)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < len; i++) {
        *out++ = digits[p[i] >> 4];
        *out++ = digits[p[i] & 15];
    }
    *out = '\0';
    return out;
}

/* One line: label, the client's random bytes, the secret. */
static ENSI_UNUSED void ensi_tls_log_key(const ensi_tls_opts_t *o, const char *label,
                                         const unsigned char *random, const unsigned char *secret, size_t len)
{
    char line[40 + 2 * ENSI_TLS_RANDOM_BYTES + 2 * ENSI_TLS_SECRET_MAX];
    char *p = line + ensi_fmt(line, 40, "%s ", label);

    if (len > ENSI_TLS_SECRET_MAX) return;
    p = ensi_tls_put_hex(p, random, ENSI_TLS_RANDOM_BYTES);
    *p++ = ' ';
    ensi_tls_put_hex(p, secret, len);
    o->key_log(o->user, line);
    ensi_wipe(line, sizeof line);
}

#if MBEDTLS_VERSION_NUMBER >= 0x03000000
static const char *ensi_tls_key_label(mbedtls_ssl_key_export_type type)
{
    switch (type) {
    case MBEDTLS_SSL_KEY_EXPORT_TLS12_MASTER_SECRET: return "CLIENT_RANDOM";
#ifdef MBEDTLS_SSL_PROTO_TLS1_3
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_EARLY_SECRET: return "CLIENT_EARLY_TRAFFIC_SECRET";
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_EARLY_EXPORTER_SECRET: return "EARLY_EXPORTER_SECRET";
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_HANDSHAKE_TRAFFIC_SECRET:
        return "CLIENT_HANDSHAKE_TRAFFIC_SECRET";
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_HANDSHAKE_TRAFFIC_SECRET:
        return "SERVER_HANDSHAKE_TRAFFIC_SECRET";
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_APPLICATION_TRAFFIC_SECRET: return "CLIENT_TRAFFIC_SECRET_0";
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_APPLICATION_TRAFFIC_SECRET: return "SERVER_TRAFFIC_SECRET_0";
#endif
    default: return NULL;
    }
}

static void ensi_tls_on_key(void *arg, mbedtls_ssl_key_export_type type, const unsigned char *secret,
                            size_t len, const unsigned char client_random[32],
                            const unsigned char server_random[32], mbedtls_tls_prf_types prf)
{
    const char *label = ensi_tls_key_label(type);

    (void)server_random;
    (void)prf;
    if (label) ensi_tls_log_key((const ensi_tls_opts_t *)arg, label, client_random, secret, len);
}
#elif defined(MBEDTLS_SSL_EXPORT_KEYS)
static int ensi_tls_on_key(void *arg, const unsigned char *master, const unsigned char *block, size_t mac_len,
                           size_t key_len, size_t iv_len, const unsigned char client_random[32],
                           const unsigned char server_random[32], mbedtls_tls_prf_types prf)
{
    enum { MASTER_BYTES = 48 }; /* RFC 5246, 8.1 */

    (void)block;
    (void)mac_len;
    (void)key_len;
    (void)iv_len;
    (void)server_random;
    (void)prf;
    ensi_tls_log_key((const ensi_tls_opts_t *)arg, "CLIENT_RANDOM", client_random, master, MASTER_BYTES);
    return 0;
}
#endif

/* ---- configuration */

static int ensi_tls_hook_entropy(void *arg, unsigned char *out, size_t len)
{
    ensi_tls_conf_t *t = (ensi_tls_conf_t *)arg;

    return t->opts.random(t->opts.user, out, len) == 0 ? 0 : MBEDTLS_ERR_CTR_DRBG_ENTROPY_SOURCE_FAILED;
}

/* Random bytes from the system. mbedTLS's context for them can take 38 KB, and is needed for this alone. */
static bool ensi_tls_entropy(void *out, size_t len)
{
    mbedtls_entropy_context entropy;
    int rc;

    mbedtls_entropy_init(&entropy);
    rc = mbedtls_entropy_func(&entropy, (unsigned char *)out, len);
    mbedtls_entropy_free(&entropy);
    return rc == 0;
}

static int ensi_tls_system_entropy(void *arg, unsigned char *out, size_t len)
{
    (void)arg;
    return ensi_tls_entropy(out, len) ? 0 : MBEDTLS_ERR_CTR_DRBG_ENTROPY_SOURCE_FAILED;
}

static int ensi_tls_seed(ensi_tls_conf_t *t, ensign_error_t *e)
{
    int rc;

    if (t->opts.random) rc = mbedtls_ctr_drbg_seed(&t->drbg, ensi_tls_hook_entropy, t, NULL, 0);
    else rc = mbedtls_ctr_drbg_seed(&t->drbg, ensi_tls_system_entropy, NULL, NULL, 0);
    if (rc == 0) return ENSIGN_OK;
    return ensi_fail(e, ENSIGN_E_TLS, rc, "tls: %s (mbedTLS -0x%04X)", t->opts.random
                     ? "the random hook gave no entropy; it must fill the whole buffer and return 0"
                     : "the system gave mbedTLS no entropy; set the random hook of the desc", (unsigned)-rc);
}

/* PSA keeps its own count: a second init does nothing. */
static int ensi_tls_psa(ensign_error_t *e)
{
#if MBEDTLS_VERSION_NUMBER >= 0x03000000 && defined(MBEDTLS_PSA_CRYPTO_C)
    psa_status_t rc = psa_crypto_init();
    if (rc != PSA_SUCCESS)
        return ensi_fail(e, rc == PSA_ERROR_INSUFFICIENT_MEMORY ? ENSIGN_E_MEMORY : ENSIGN_E_TLS, (int)rc,
                         "tls: mbedTLS's PSA crypto does not start (PSA error %d); it needs entropy, memory",
                         (int)rc);
#else
    (void)e;
#endif
    return ENSIGN_OK;
}

static void ensi_tls_set_version(ensi_tls_conf_t *t)
{
#if MBEDTLS_VERSION_NUMBER >= 0x03020000
    bool only_1_3 = ENSI_TLS_HAS_1_3 && t->opts.min_version == ENSIGN_TLS_1_3;
    mbedtls_ssl_conf_min_tls_version(&t->config, only_1_3 ? MBEDTLS_SSL_VERSION_TLS1_3
                                     : MBEDTLS_SSL_VERSION_TLS1_2);
#else
    mbedtls_ssl_conf_min_version(&t->config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
#endif
}

static void ensi_tls_set_tickets(ensi_tls_conf_t *t)
{
    (void)t;
#ifdef MBEDTLS_SSL_SESSION_TICKETS
    mbedtls_ssl_conf_session_tickets(&t->config, t->opts.no_resume ? MBEDTLS_SSL_SESSION_TICKETS_DISABLED
                                     : MBEDTLS_SSL_SESSION_TICKETS_ENABLED);
#if ENSI_TLS_HAS_1_3 && defined(MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED)
    mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(
        &t->config, t->opts.no_resume ? MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_DISABLED
        : MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
#endif
#endif
#if ENSI_TLS_HAS_1_3
    mbedtls_ssl_conf_tls13_key_exchange_modes(&t->config, MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL_ALL);
#endif
}

static int ensi_tls_configure(ensi_tls_conf_t *t)
{
    int rc = mbedtls_ssl_config_defaults(&t->config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                         MBEDTLS_SSL_PRESET_DEFAULT);

    if (rc != 0) return rc;
    ensi_tls_set_version(t);
    ensi_tls_set_tickets(t);
    mbedtls_ssl_conf_rng(&t->config, mbedtls_ctr_drbg_random, &t->drbg);
    mbedtls_ssl_conf_ciphersuites(&t->config, ensi_tls_suites);
#if ENSI_TLS_HAS_1_3
    mbedtls_ssl_conf_sig_algs(&t->config, ensi_tls_signatures);
#endif
    mbedtls_ssl_conf_authmode(&t->config, t->opts.insecure_skip_verify ? MBEDTLS_SSL_VERIFY_NONE
                              : MBEDTLS_SSL_VERIFY_REQUIRED);
    if (!t->opts.insecure_skip_verify) mbedtls_ssl_conf_ca_chain(&t->config, &t->ca, NULL);
    if (ensi_tls_has_own(&t->opts)) rc = mbedtls_ssl_conf_own_cert(&t->config, &t->own, &t->key);
    if (rc != 0) return rc;
#ifdef MBEDTLS_SSL_RENEGOTIATION
    mbedtls_ssl_conf_renegotiation(&t->config, MBEDTLS_SSL_RENEGOTIATION_DISABLED);
#endif
#if MBEDTLS_VERSION_NUMBER < 0x03000000 && defined(MBEDTLS_SSL_EXPORT_KEYS)
    if (t->opts.key_log) mbedtls_ssl_conf_export_keys_ext_cb(&t->config, ensi_tls_on_key, &t->opts);
#endif
    if (!t->opts.alpn_h2) return 0;
    t->alpn[0] = "h2";
    t->alpn[1] = NULL;
    return mbedtls_ssl_conf_alpn_protocols(&t->config, t->alpn);
}

static void ensi_tls_conf_close(ensi_tls_conf_t *t)
{
    if (!t->open) return;
    t->open = false;
    mbedtls_ssl_config_free(&t->config);
    mbedtls_x509_crt_free(&t->ca);
    mbedtls_x509_crt_free(&t->own);
    mbedtls_pk_free(&t->key);
    mbedtls_ctr_drbg_free(&t->drbg);
}

static int ensi_tls_conf_fill(ensi_tls_conf_t *t, ensign_error_t *e)
{
    const ensi_tls_opts_t *o = &t->opts;
    int rc = ensi_tls_psa(e);

    if (rc == ENSIGN_OK) rc = ensi_tls_seed(t, e);
    if (rc == ENSIGN_OK && !o->insecure_skip_verify)
        rc = o->ca_pem.ptr ? ensi_tls_trust_pem(t, o->ca_pem, e) : ensi_tls_trust_file(t, o->ca_file, e);
    if (rc == ENSIGN_OK && ensi_tls_has_own(o)) rc = ensi_tls_own_certificate(t, e);
    if (rc == ENSIGN_OK && ensi_tls_has_own(o)) rc = ensi_tls_own_key(t, e);
    if (rc != ENSIGN_OK) return rc;
    rc = ensi_tls_configure(t);
    if (rc == 0) return ENSIGN_OK;
    return ensi_fail(e, ensi_tls_is_memory(rc) ? ENSIGN_E_MEMORY : ENSIGN_E_TLS, rc,
                     "tls: mbedTLS takes no client configuration (-0x%04X); "
                     "this build of it may lack TLS 1.2 or ALPN", (unsigned)-rc);
}

static int ensi_tls_conf_open(ensi_tls_conf_t *t, const ensi_tls_opts_t *o, ensign_error_t *e)
{
    int rc;

    memset(t, 0, sizeof *t);
    mbedtls_ssl_config_init(&t->config);
    mbedtls_x509_crt_init(&t->ca);
    mbedtls_x509_crt_init(&t->own);
    mbedtls_pk_init(&t->key);
    mbedtls_ctr_drbg_init(&t->drbg);
    t->open = true;
    t->opts = *o;
    t->trust = "";
    rc = ensi_tls_conf_fill(t, e);
    if (rc != ENSIGN_OK) ensi_tls_conf_close(t);
    return rc;
}

/* ---- the peer's certificate */

enum {
    ENSI_TLS_SAN_EMAIL = MBEDTLS_ASN1_CONTEXT_SPECIFIC | 1, /* rfc822Name */
    ENSI_TLS_SAN_DNS = MBEDTLS_ASN1_CONTEXT_SPECIFIC | 2,   /* GeneralName of RFC 5280, 4.2.1.6 */
    ENSI_TLS_SAN_IP = MBEDTLS_ASN1_CONTEXT_SPECIFIC | 7
};

static bool ensi_tls_has_ip(const ensi_tls_t *t, const mbedtls_x509_crt *crt)
{
    const mbedtls_x509_sequence *s;

    if (t->ip_len == 0) return false;
    for (s = &crt->subject_alt_names; s; s = s->next)
        if (s->buf.tag == ENSI_TLS_SAN_IP && s->buf.len == t->ip_len &&
            memcmp(s->buf.p, t->ip, t->ip_len) == 0)
            return true;
    return false;
}

/* Text out of a certificate is the peer's: what is not plain ASCII becomes '?'. */
static void ensi_tls_append(char *out, const char *text, size_t len)
{
    size_t at = strlen(out);

    for (size_t i = 0; i < len; i++, at++) {
        if (at + 1 >= ENSI_TLS_NAMES_MAX) {
            memcpy(out + ENSI_TLS_NAMES_MAX - 4, "...", 4);
            return;
        }
        out[at] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
        out[at + 1] = '\0';
    }
}

static void ensi_tls_append_dn(char *out, const mbedtls_x509_name *name)
{
    char dn[256];
    int n = mbedtls_x509_dn_gets(dn, sizeof dn, name);

    if (n > 0) ensi_tls_append(out, dn, strlen(dn));
    else ensi_tls_append(out, "(no readable name)", 18);
}

/* The names that the certificate is good for. Without a SAN mbedTLS looks at the CN; with one that has no
 * host, it is good for none: that is returned. */
static const char *ensi_tls_append_names(char *out, const mbedtls_x509_crt *crt)
{
    const mbedtls_x509_sequence *s;
    const char *no_host = NULL;
    bool any = false;

    for (s = &crt->subject_alt_names; s && s->buf.p; s = s->next) {
        bool dns = s->buf.tag == ENSI_TLS_SAN_DNS;
        if (s->buf.tag == ENSI_TLS_SAN_EMAIL) no_host = "an e-mail address";
        else if (!no_host) no_host = "other kinds of names";
        if (!dns && s->buf.tag != ENSI_TLS_SAN_IP) continue;
        if (any) ensi_tls_append(out, ", ", 2);
        if (dns) ensi_tls_append(out, (const char *)s->buf.p, s->buf.len);
        else ensi_tls_append(out, "an IP address", 13);
        any = true;
    }
    if (!any) ensi_tls_append_dn(out, &crt->subject);
    return any ? NULL : no_host;
}

static ensi_tls_cause_t ensi_tls_cause(uint32_t flags)
{
    if (flags & (MBEDTLS_X509_BADCERT_NOT_TRUSTED | MBEDTLS_X509_BADCERT_MISSING)) return ENSI_TLS_BAD_CHAIN;
    if (flags & (MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE)) return ENSI_TLS_BAD_DATE;
    if (flags & ~(uint32_t)MBEDTLS_X509_BADCERT_CN_MISMATCH) return ENSI_TLS_BAD_USE;
    return flags ? ENSI_TLS_BAD_NAME : ENSI_TLS_FINE;
}

static void ensi_tls_note(ensi_tls_bad_t *bad, const mbedtls_x509_crt *crt, int depth, uint32_t flags)
{
    ensi_tls_cause_t cause = ensi_tls_cause(flags);

    if (cause <= bad->cause) return;
    memset(bad, 0, sizeof *bad);
    bad->cause = cause;
    bad->flags = flags;
    bad->depth = depth;
    bad->from = crt->valid_from;
    bad->to = crt->valid_to;
    bad->unread = crt->raw.p == NULL;
    bad->self_signed = !bad->unread && ensi_slice_eq(ensi_slice(crt->issuer_raw.p, crt->issuer_raw.len),
                                                     ensi_slice(crt->subject_raw.p, crt->subject_raw.len));
    if (cause == ENSI_TLS_BAD_NAME) bad->no_host = ensi_tls_append_names(bad->names, crt);
    else ensi_tls_append_dn(bad->names, cause == ENSI_TLS_BAD_CHAIN ? &crt->issuer : &crt->subject);
}

/* mbedTLS calls this for each certificate of the chain, the server's own last; what is left in *flags is what
 * is wrong. */
static int ensi_tls_verify(void *arg, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
    ensi_tls_t *t = (ensi_tls_t *)arg;

    if (t->conf->opts.ignore_dates)
        *flags &= ~(uint32_t)(MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE);
    if (depth == 0 && t->ip_len != 0) { /* only an iPAddress entry names an address (RFC 9525) */
        *flags &= ~(uint32_t)MBEDTLS_X509_BADCERT_CN_MISMATCH;
        if (!ensi_tls_has_ip(t, crt)) *flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
    }
    ensi_tls_note(&t->bad, crt, depth, *flags);
    return 0;
}

/* ---- sessions that can be resumed */

/* Frees a saved session; mbedTLS wipes it. */
static void ensi_tls_forget(ensi_tls_saved_t *s)
{
    if (!s->any) return;
    s->any = false;
    mbedtls_ssl_session_free(&s->session);
}

/* Saves the session of the connection, in place of the one before. Without memory it saves nothing. */
static void ensi_tls_save(ensi_tls_t *t)
{
    ensi_tls_saved_t *s = t->saved;

    if (!s) return;
    ensi_tls_forget(s);
    mbedtls_ssl_session_init(&s->session);
    if (mbedtls_ssl_get_session(&t->ssl, &s->session) != 0) {
        mbedtls_ssl_session_free(&s->session);
        return;
    }
    memcpy(s->host, t->endpoint, strlen(t->endpoint) + 1);
    memcpy(s->name, t->host, strlen(t->host) + 1);
    s->port = t->port;
    s->verified_ms = t->verified_ms;
    s->any = true;
}

/* Offers the saved session to the server if it is one of this endpoint and of the connection's server name,
 * and not too old. From then on sessions of the connection are saved there. Call it between open and the
 * handshake. `host` stands while the connection is open. */
static void ensi_tls_resume(ensi_tls_t *t, ensi_tls_saved_t *saved, const char *host, uint16_t port,
                            uint64_t now_ms)
{
    ensi_tls_saved_t *s = saved;

    if (t->conf->opts.no_resume || strlen(host) >= sizeof s->host) return;
    t->saved = saved;
    t->endpoint = host;
    t->port = port;
    t->verified_ms = now_ms;
    if (!s->any || s->port != port || strcmp(s->host, host) != 0 || strcmp(s->name, t->host) != 0) return;
    if (now_ms - s->verified_ms < ENSI_TLS_RESUME_MS)
        t->offered = mbedtls_ssl_set_session(&t->ssl, &s->session) == 0;
    if (t->offered) t->verified_ms = s->verified_ms;
    ensi_tls_forget(s);
}

/* Was the session resumed, instead of made by a full handshake? */
static ENSI_UNUSED bool ensi_tls_resumed(const ensi_tls_t *t)
{
    return t->up && t->offered && !t->full;
}

/* Does the connection use TLS 1.3? Its tickets come after the handshake. */
static bool ensi_tls_is_1_3(const ensi_tls_t *t)
{
#if ENSI_TLS_HAS_1_3
    return mbedtls_ssl_get_version_number(&t->ssl) == MBEDTLS_SSL_VERSION_TLS1_3;
#else
    (void)t;
    return false;
#endif
}

/* Is mbedtls_ssl_read to be called again at once? It had news; or it says "not yet" behind a ticket or a
 * warning, although rx had what it asked for: more may be there, and nobody would come for it. */
static bool ensi_tls_goes_on(ensi_tls_t *t, int rc)
{
    if (ensi_tls_is_news(rc)) {
        ensi_tls_save(t);
        return true;
    }
    return rc == MBEDTLS_ERR_SSL_WANT_READ && !t->starved;
}

/* ---- why a connection failed */

static int ensi_tls_fail_date(const ensi_tls_t *t, int rc, ensign_error_t *e)
{
    const ensi_tls_bad_t *bad = &t->bad;
    bool future = (bad->flags & MBEDTLS_X509_BADCERT_FUTURE) != 0;
    const mbedtls_x509_time *day = future ? &bad->from : &bad->to;
    struct tm now;

    memset(&now, 0, sizeof now);
#ifdef MBEDTLS_HAVE_TIME_DATE
    {
        mbedtls_time_t seconds = mbedtls_time(NULL);
        (void)mbedtls_platform_gmtime_r(&seconds, &now);
    }
#endif
    return ensi_fail(e, ENSIGN_E_CERTIFICATE, rc,
                     "tls: %s%.60s%s certificate of %s %s %04d-%02d-%02d, this clock says %04d-%02d-%02d; %s",
                     bad->depth > 0 ? "CA " : "", bad->depth > 0 ? bad->names : "",
                     bad->depth > 0 ? " above the" : "the", t->where,
                     future ? "is not valid before" : "expired on", day->year, day->mon, day->day,
                     now.tm_year + 1900, now.tm_mon + 1, now.tm_mday,
                     future ? "set the clock, or wait" : "renew it or set the clock");
}

static int ensi_tls_fail_chain(const ensi_tls_t *t, int rc, ensign_error_t *e)
{
    if (t->bad.unread)
        return ensi_fail(e, ENSIGN_E_CERTIFICATE, rc,
                         "tls: mbedTLS cannot read the certificate of %.60s: it lacks the algorithm that "
                         "signed it, such as Ed25519; have the server use RSA or ECDSA", t->where);
    if (t->bad.self_signed && t->bad.depth == 0)
        return ensi_fail(e, ENSIGN_E_CERTIFICATE, rc,
                         "tls: the certificate of %s is self-signed and not in %s; "
                         "if it is yours, give it in tls.ca_file or tls.ca_pem",
                         t->where, t->conf->trust);
    return ensi_fail(e, ENSIGN_E_CERTIFICATE, rc,
                     "tls: certificate of %.44s is signed by %.38s, not in %.38s; "
                     "give that CA in tls.ca_file or ca_pem, or have the server send its chain",
                     t->where, t->bad.names, t->conf->trust);
}

static int ensi_tls_fail_use(const ensi_tls_t *t, uint32_t flags, int rc, ensign_error_t *e)
{
    static const struct { uint32_t flag; const char *text; } uses[] = {
        { MBEDTLS_X509_BADCERT_KEY_USAGE, "its key usage does not allow TLS" },
        { MBEDTLS_X509_BADCERT_EXT_KEY_USAGE, "it is not for TLS servers (extended key usage)" },
        { MBEDTLS_X509_BADCERT_NS_CERT_TYPE, "it is not for TLS servers (nsCertType)" },
        { MBEDTLS_X509_BADCERT_BAD_MD, "it is signed with a hash that is too weak, SHA-1 or older" },
        { MBEDTLS_X509_BADCERT_BAD_PK, "its kind of key is not supported" },
        { MBEDTLS_X509_BADCERT_BAD_KEY, "its key is too short or on an odd curve" },
        { MBEDTLS_X509_BADCERT_REVOKED, "it is revoked" },
    };
    const char *text = ensi_tls_lack(rc);

    if (!text) text = "mbedTLS does not take it";
    for (size_t i = 0; i < ENSI_COUNT(uses) && flags != UINT32_MAX; i++)
        if (flags & uses[i].flag) text = uses[i].text;
    return ensi_fail(e, ENSIGN_E_CERTIFICATE, rc,
                     "tls: the certificate of %.44s cannot be used: %s (mbedTLS -0x%04X, flags 0x%X); "
                     "have the server use another one",
                     t->where, text, (unsigned)-rc, (unsigned)flags);
}

static int ensi_tls_fail_certificate(const ensi_tls_t *t, int rc, ensign_error_t *e)
{
    switch (t->bad.cause) {
    case ENSI_TLS_BAD_CHAIN: return ensi_tls_fail_chain(t, rc, e);
    case ENSI_TLS_BAD_DATE: return ensi_tls_fail_date(t, rc, e);
    case ENSI_TLS_BAD_NAME:
        if (t->bad.no_host)
            return ensi_fail(e, ENSIGN_E_HOSTNAME, rc,
                             "tls: the certificate of %.44s has %s, but no host name, in its SAN, and then "
                             "the CN does not count; have the server use one with %.38s in its SAN",
                             t->where, t->bad.no_host, t->host);
        if (t->ip_len != 0)
            return ensi_fail(e, ENSIGN_E_HOSTNAME, rc,
                             "tls: %.40s shows a certificate for %.40s, not for the address %.39s; "
                             "an address must be in it as iPAddress, or set tls.server_name",
                             t->where, t->bad.names, t->host);
        return ensi_fail(e, ENSIGN_E_HOSTNAME, rc, "tls: %.44s shows a certificate for %s, not for %.38s; "
                         "dial a name that it has, or set tls.server_name", t->where, t->bad.names, t->host);
    case ENSI_TLS_BAD_USE:
    case ENSI_TLS_FINE: break;
    }
    return ensi_tls_fail_use(t, t->bad.cause == ENSI_TLS_BAD_USE ? t->bad.flags
                             : mbedtls_ssl_get_verify_result(&t->ssl), rc, e);
}

/* What to do about an alert that depends on what we have; `advice` where it does not. */
static const char *ensi_tls_alert_advice(const ensi_tls_t *t, unsigned number, const char *advice)
{
    const ensi_tls_opts_t *o = &t->conf->opts;

    if (number == MBEDTLS_SSL_ALERT_MSG_HANDSHAKE_FAILURE)
        return o->min_version == ENSIGN_TLS_1_3
            ? "; it may lack TLS 1.3, which is the tls.min_version, or no cipher or kind of certificate fits"
            : ensi_tls_has_own(o)
            ? "; its certificate is Ed25519 or RSA-PSS, which mbedTLS lacks, or no cipher or curve fits"
            : "; it wants a client certificate (tls.cert_file), or its own is Ed25519 or RSA-PSS, which "
              "mbedTLS lacks, or no cipher fits";
    if (number == MBEDTLS_SSL_ALERT_MSG_PROTOCOL_VERSION)
        return o->min_version == ENSIGN_TLS_1_3 ? "; it lacks TLS 1.3, which is the tls.min_version"
            : ENSI_TLS_HAS_1_3 ? "; no TLS version in common: it needs 1.2 or 1.3"
            : "; no TLS version in common: it needs 1.2, or this mbedTLS 1.3";
    if (ensi_tls_has_own(o) && number >= MBEDTLS_SSL_ALERT_MSG_BAD_CERT &&
        number <= MBEDTLS_SSL_ALERT_MSG_ACCESS_DENIED && number != MBEDTLS_SSL_ALERT_MSG_ILLEGAL_PARAMETER)
        return "; it does not take our client certificate: set tls.cert_file to one that it trusts";
    return advice;
}

/* The alerts of RFC 8446, 6.2, and what to do about those that one can do something about. */
static int ensi_tls_fail_alert(const ensi_tls_t *t, int rc, ensign_error_t *e)
{
    static const struct { unsigned char number; const char *name, *advice; } alerts[] = {
        { 10, "unexpected_message", "" },
        { 20, "bad_record_mac", "" },
        { 22, "record_overflow", "" },
        { 40, "handshake_failure", "" },
        { 42, "bad_certificate", "; it may want a client certificate: set tls.cert_file and tls.key_file" },
        { 43, "unsupported_certificate", "" },
        { 44, "certificate_revoked", "" },
        { 45, "certificate_expired", "" },
        { 46, "certificate_unknown", "" },
        { 47, "illegal_parameter", "" },
        { 48, "unknown_ca", "" },
        { 49, "access_denied", "; it does not let this client in" },
        { 50, "decode_error", "" },
        { 51, "decrypt_error", "" },
        { 70, "protocol_version", "" },
        { 71, "insufficient_security", "; it wants stronger ciphers than we have" },
        { 80, "internal_error", "; look into the server's log" },
        { 86, "inappropriate_fallback", "" },
        { 90, "user_canceled", "" },
        { 109, "missing_extension", "" },
        { 110, "unsupported_extension", "" },
        { 112, "unrecognized_name", "; it does not know this host: set tls.server_name to its own name" },
        { 113, "bad_certificate_status_response", "" },
        { 115, "unknown_psk_identity", "" },
        { 116, "certificate_required", "; set a client certificate: tls.cert_file and tls.key_file" },
        { 120, "no_application_protocol", "; no HTTP/2 (ALPN h2) on this port: use its gRPC port" },
    };
    enum { NO_PROTOCOL = 120 };
    /* The only place where mbedTLS says which alert it was. */
    unsigned number = t->ssl.ENSI_TLS_MEMBER(in_msg)[1];
    const char *name = "of an unknown kind", *advice = "";

    for (size_t i = 0; i < ENSI_COUNT(alerts); i++) {
        if (alerts[i].number != number) continue;
        name = alerts[i].name;
        advice = alerts[i].advice;
    }
    advice = ensi_tls_alert_advice(t, number, advice);
    return ensi_fail(e, number == NO_PROTOCOL ? ENSIGN_E_ALPN : ENSIGN_E_TLS, rc,
                     "tls: %.50s ended the %s with alert %u, %s%s", t->where,
                     t->up ? "connection" : "handshake", number, name, advice);
}

/* A record begins with its type, 20 to 23, and 3, the major version (RFC 8446, 5.1 and RFC 5246, 6.2.1). */
static bool ensi_tls_is_alien(const ensi_tls_t *t)
{
    return t->head_len == ENSI_TLS_HEAD_BYTES && (t->head[0] < 20 || t->head[0] > 23 || t->head[1] != 3);
}

static int ensi_tls_fail_alien(const ensi_tls_t *t, int rc, ensign_error_t *e)
{
    enum { TYPE = 3, SETTINGS = 4 }; /* of an HTTP/2 frame's header, which a server's first frame must have */
    const uint8_t *h = t->head;
    char what[64];

    if (memcmp(h, "HTTP/", sizeof t->head) == 0)
        ensi_fmt(what, sizeof what, "it answers in plaintext HTTP/1");
    else if (h[0] == 0 && h[TYPE] == SETTINGS)
        ensi_fmt(what, sizeof what, "it sends plaintext HTTP/2");
    else
        ensi_fmt(what, sizeof what, "its first bytes are %02X %02X %02X %02X %02X", h[0], h[1], h[2], h[3],
                 h[4]);
    return ensi_fail(e, ENSIGN_E_TLS, rc,
                     "tls: the server at %s does not speak TLS, %s; set tls.off (ENSIGN_INSECURE), or use "
                     "the right port", t->where, what);
}

static bool ensi_tls_is_certificate(int rc)
{
    enum { X509_LAST = 0x2980, X509_FIRST = 0x2080 };
#ifdef MBEDTLS_ERR_SSL_BAD_CERTIFICATE
    if (rc == MBEDTLS_ERR_SSL_BAD_CERTIFICATE) return true;
#else
    if (rc == MBEDTLS_ERR_SSL_BAD_HS_CERTIFICATE) return true;
#endif
    return rc == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED || (-rc >= X509_FIRST && -rc < X509_LAST) ||
           ensi_tls_lack(rc) != NULL;
}

/* Did a server of TLS 1.2 sign with RSA-PSS? mbedTLS 3.6 offers it, for TLS 1.3 alone. */
static bool ensi_tls_is_pss(const ensi_tls_t *t, int rc)
{
#if ENSI_TLS_HAS_1_3
    return rc == MBEDTLS_ERR_SSL_ILLEGAL_PARAMETER &&
           t->ssl.ENSI_TLS_MEMBER(state) == MBEDTLS_SSL_SERVER_KEY_EXCHANGE;
#else
    (void)t;
    (void)rc;
    return false;
#endif
}

/* Turns mbedTLS's code into ours, and makes it final. Only an orderly end leaves a session to resume. */
static int ensi_tls_fail(ensi_tls_t *t, int rc, ensign_error_t *e)
{
    if (t->saved && !(t->up && rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)) ensi_tls_forget(t->saved);
    if (ensi_tls_is_memory(rc))
        t->end = ensi_fail(e, ENSIGN_E_MEMORY, rc, "tls: no memory to connect to %s (mbedTLS -0x%04X)",
                           t->where, (unsigned)-rc);
    else if (rc == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE)
        t->end = ensi_tls_fail_alert(t, rc, e);
    else if (rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY && t->up)
        t->end = ensi_fail(e, ENSIGN_E_CLOSED, 0, "tls: %s closed the connection (close_notify)", t->where);
    else if (rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
        t->end = ensi_fail(e, ENSIGN_E_TLS, rc,
                           "tls: %s closed the connection during the handshake (close_notify); "
                           "look into the server's log",
                           t->where);
    else if (!t->up && ensi_tls_is_alien(t))
        t->end = ensi_tls_fail_alien(t, rc, e);
    else if (!t->up && ensi_tls_is_certificate(rc))
        t->end = ensi_tls_fail_certificate(t, rc, e);
    else if (!t->up && ensi_tls_is_pss(t, rc))
        t->end = ensi_fail(e, ENSIGN_E_TLS, rc,
                           "tls: %.60s signs its key exchange with RSA-PSS, which mbedTLS lacks in TLS 1.2 "
                           "(-0x%04X); have it use TLS 1.3, PKCS #1 or ECDSA", t->where, (unsigned)-rc);
    else
        t->end = ensi_fail(e, ENSIGN_E_TLS, rc, "tls: the %s with %s failed: %s (mbedTLS -0x%04X)",
                           t->up ? "connection" : "handshake", t->where, ensi_tls_meaning(rc), (unsigned)-rc);
    return t->end;
}

/* ---- the connection */

static int ensi_tls_bio_recv(void *arg, unsigned char *out, size_t len)
{
    ensi_tls_t *t = (ensi_tls_t *)arg;
    size_t n = t->rx->end - t->rx->start, head = ENSI_TLS_HEAD_BYTES - t->head_len;

    t->starved = n == 0;
    if (n == 0) return MBEDTLS_ERR_SSL_WANT_READ;
    if (n > len) n = len;
    if (n > INT_MAX) n = INT_MAX;
    memcpy(out, t->rx->ptr + t->rx->start, n);
    if (head > n) head = n;
    memcpy(t->head + t->head_len, out, head);
    t->head_len += head;
    t->rx->start += n;
    return (int)n;
}

static int ensi_tls_bio_send(void *arg, const unsigned char *bytes, size_t len)
{
    ensi_tls_t *t = (ensi_tls_t *)arg;

    if (len > t->tx->cap || len > INT_MAX)
        return MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL; /* waiting would be for ever */
    if (len > t->tx->cap - t->tx->end) {
        t->held = len;
        return MBEDTLS_ERR_SSL_WANT_WRITE;
    }
    memcpy(t->tx->ptr + t->tx->end, bytes, len);
    t->tx->end += len;
    t->held = 0;
    return (int)len;
}

static void ensi_tls_close(ensi_tls_t *t)
{
    if (!t->open) return;
    t->open = t->up = false;
    mbedtls_ssl_free(&t->ssl);
}

/* The name without the dot that makes it absolute: certificates and the SNI have none (RFC 6066, 3). */
static int ensi_tls_set_host(ensi_tls_t *t, const char *server_name, ensign_error_t *e)
{
    size_t len = server_name ? strlen(server_name) : 0;

    if (len > 1 && server_name[len - 1] == '.') len--;
    if (len == 0 || len > ENSI_TLS_HOST_MAX)
        return ensi_fail(e, ENSIGN_E_ARGUMENT, 0,
                         "tls: the server name for %s has %lu characters, 1 to %d are allowed; "
                         "set tls.server_name",
                         t->where, (unsigned long)len, (int)ENSI_TLS_HOST_MAX);
    memcpy(t->host, server_name, len);
    t->host[len] = '\0';
    t->ip_len = ensi_ip(t->host, t->ip);
    return ENSIGN_OK;
}

static int ensi_tls_open(ensi_tls_t *t, ensi_tls_conf_t *conf, const char *server_name, const char *where,
                         ensi_buf_t *rx, ensi_buf_t *tx, ensign_error_t *e)
{
    size_t len = strlen(where);
    int rc;

    memset(t, 0, sizeof *t);
    t->conf = conf;
    t->rx = rx;
    t->tx = tx;
    memcpy(t->where, where, len < sizeof t->where ? len : sizeof t->where - 1);
    rc = ensi_tls_set_host(t, server_name, e);
    if (rc != ENSIGN_OK) return rc;
    mbedtls_ssl_init(&t->ssl);
    t->open = true;
    rc = mbedtls_ssl_setup(&t->ssl, &conf->config);
    if (rc == 0) rc = mbedtls_ssl_set_hostname(&t->ssl, t->host);
    if (rc != 0) {
        rc = ensi_tls_fail(t, rc, e);
        ensi_tls_close(t);
        return rc;
    }
    mbedtls_ssl_set_verify(&t->ssl, ensi_tls_verify, t);
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
    if (conf->opts.key_log) mbedtls_ssl_set_export_keys_cb(&t->ssl, ensi_tls_on_key, &conf->opts);
#endif
    mbedtls_ssl_set_bio(&t->ssl, t, ensi_tls_bio_send, ensi_tls_bio_recv, NULL);
    return ENSIGN_OK;
}

/* What every call finds first: OK, or why nothing can be done. */
static int ensi_tls_usable(const ensi_tls_t *t, bool want_up, ensign_error_t *e)
{
    if (!t->open) return ensi_fail(e, ENSIGN_E_STATE, 0, "tls: the connection is not open");
    if (t->end != ENSIGN_OK)
        return ensi_fail(e, t->end, 0, "tls: the connection with %s has ended already", t->where);
    if (want_up && !t->up)
        return ensi_fail(e, ENSIGN_E_STATE, 0, "tls: the handshake with %s is not over", t->where);
    return ENSIGN_OK;
}

/* The last word on a handshake that mbedTLS is content with. */
static int ensi_tls_accept(ensi_tls_t *t, ensign_error_t *e)
{
    const char *alpn;

    if (!t->conf->opts.insecure_skip_verify && mbedtls_ssl_get_verify_result(&t->ssl) != 0)
        return ensi_tls_fail(t, MBEDTLS_ERR_X509_CERT_VERIFY_FAILED, e);
    alpn = t->conf->opts.alpn_h2 ? mbedtls_ssl_get_alpn_protocol(&t->ssl) : NULL;
    if (t->conf->opts.alpn_h2 && (!alpn || strcmp(alpn, "h2") != 0))
        return t->end = ensi_fail(e, ENSIGN_E_ALPN, 0,
                                  "tls: %s agreed on %.20s by ALPN, h2 is needed; "
                                  "use the server's gRPC port, or turn HTTP/2 on there",
                                  t->where, alpn ? alpn : "no protocol");
    t->up = true;
    /* mbedTLS keeps the ticket that we offered when the server refused it and sent no other one, but with
     * secrets that do not belong to it: such a session is not saved. */
    if (!ensi_tls_is_1_3(t) && !(t->offered && t->full)) ensi_tls_save(t);
    return ENSIGN_OK;
}

/* mbedtls_ssl_handshake, but it notes whether the server shows its certificate. */
static int ensi_tls_steps(ensi_tls_t *t)
{
    int rc = 0;

    while (rc == 0 && t->ssl.ENSI_TLS_MEMBER(state) != MBEDTLS_SSL_HANDSHAKE_OVER) {
        rc = mbedtls_ssl_handshake_step(&t->ssl);
        if (t->ssl.ENSI_TLS_MEMBER(state) == MBEDTLS_SSL_SERVER_CERTIFICATE) t->full = true;
    }
    return rc;
}

static int ensi_tls_handshake(ensi_tls_t *t, ensign_error_t *e)
{
    int rc = ensi_tls_usable(t, false, e);

    if (rc != ENSIGN_OK || t->up) return rc;
    do rc = ensi_tls_steps(t);
    while (ensi_tls_is_news(rc));
    if (rc == 0) return ensi_tls_accept(t, e);
    return ensi_tls_is_again(rc) ? (int)ENSIGN_AGAIN : ensi_tls_fail(t, rc, e);
}

/* What was agreed on with a handshake that is over. The strings stand until the connection is closed. */
static void ensi_tls_tell(const ensi_tls_t *t, const char **version, const char **cipher, const char **alpn)
{
    *version = mbedtls_ssl_get_version(&t->ssl);
    *cipher = mbedtls_ssl_get_ciphersuite(&t->ssl);
    *alpn = t->conf->opts.alpn_h2 ? mbedtls_ssl_get_alpn_protocol(&t->ssl) : NULL;
}

/* `cap` is not 0. */
static int ensi_tls_read(ensi_tls_t *t, uint8_t *out, size_t cap, size_t *len, ensign_error_t *e)
{
    int rc = ensi_tls_usable(t, true, e);

    *len = 0;
    if (rc != ENSIGN_OK) return rc;
    do {
        t->starved = false;
        rc = mbedtls_ssl_read(&t->ssl, out, cap);
    } while (ensi_tls_goes_on(t, rc));
    if (rc > 0) {
        *len = (size_t)rc;
        return ENSIGN_OK;
    }
    return rc == 0 || ensi_tls_is_again(rc) ? (int)ENSIGN_AGAIN : ensi_tls_fail(t, rc, e);
}

/* Returns the room in tx that a write of `n` bytes needs. An mbedTLS built with smaller records, or a peer
 * that asked for them, makes several of one write. */
static size_t ensi_tls_record_room(ensi_tls_t *t, size_t n)
{
    enum { EXPANSION_GUESS = 128 };     /* more than any suite of ours adds */
    int extra = mbedtls_ssl_get_record_expansion(&t->ssl);
    int most = mbedtls_ssl_get_max_out_record_payload(&t->ssl);
    size_t records = most > 0 ? (n + (size_t)most - 1) / (size_t)most : 1;

    return n + records * (size_t)(extra > 0 ? extra : EXPANSION_GUESS) + t->held;
}

static int ensi_tls_write(ensi_tls_t *t, const uint8_t *p, size_t n, ensign_error_t *e)
{
    int rc = ensi_tls_usable(t, true, e);
    size_t room, need;

    if (rc != ENSIGN_OK || n == 0) return rc;
    room = t->tx->cap - t->tx->end;
    need = ensi_tls_record_room(t, n);
    if (n > ENSI_TLS_PLAIN_MAX)
        return ensi_fail(e, ENSIGN_E_TOO_LARGE, 0, "tls: a write of %lu bytes, a record takes %d",
                         (unsigned long)n, (int)ENSI_TLS_PLAIN_MAX);
    if (room < need)
        return ensi_fail(e, ENSIGN_E_STATE, 0,
                         "tls: a write needs room for %lu bytes, the send buffer has %lu; send first",
                         (unsigned long)need, (unsigned long)room);
    /* What mbedTLS holds back (an alert) goes first: it would take our bytes for that, and say that it wrote
     * them. */
    if (t->held > 0) rc = mbedtls_ssl_write(&t->ssl, p, 0);
    for (size_t at = 0; at < n && rc >= 0; at += (size_t)(rc > 0 ? rc : 0)) {
        do rc = mbedtls_ssl_write(&t->ssl, p + at, n - at);
        while (ensi_tls_is_news(rc));
    }
    return rc >= 0 ? (int)ENSIGN_OK : ensi_tls_fail(t, rc, e);
}

static void ensi_tls_bye(ensi_tls_t *t)
{
    if (t->open && t->up && (t->end == ENSIGN_OK || t->end == ENSIGN_E_CLOSED))
        (void)mbedtls_ssl_close_notify(&t->ssl);
}
#endif /* ENSIGN_NO_TLS */

/* >>handle   may call: util mem
 *            open to: state reopen call query pub sub req client create
 * Numbers for objects; which of them are alive, have a notice, have a timer
 *
 * Owns   the table of handles; each handle's storage for its last notice; three orders of handles: those that
 *        live, those that are ready to be pulled, and those whose timers run.
 * Holds  id = generation << 16 | slot + 1: a stale number finds no handle. Freed slots are used again in the
 *        order in which they became free, so that a generation returns as late as it can.
 *        ready: each handle that has a notice and is not held, once, in the order in which it is served.
 *        timed: a heap by due_ms, of each handle whose due_ms is not UINT64_MAX: a step costs those that are
 *        due.
 *        busy: how many are not done.
 *        dying: at most one handle whose last notice has been pulled and still stands.
 * Moves  ready: ensi_ready_append or _remove after anything that can make or take a notice; the pull is
 *        client's. done: once, when nothing but a pull is left to do. due_ms: ensi_handle_schedule. */
typedef struct ensi_handle_t ensi_handle_t;
typedef struct ensi_kind_t ensi_kind_t;     /* what a kind of object does: section state */
typedef struct ensi_call_t ensi_call_t;     /* section grpc */
typedef struct ensi_reopen_t ensi_reopen_t; /* section state */

/* Notices that coalesce to one bit each. */
enum {
    ENSI_BIT_CONNECTED = 1,
    ENSI_BIT_DISCONNECTED = 2,
    ENSI_BIT_FAILED = 4,
    ENSI_BIT_CLOSED = 8,
    ENSI_BIT_OPEN = 16,
    ENSI_BIT_ROOM = 32,
    ENSI_BIT_DRAINED = 64,
    ENSI_BIT_HEADERS = 128,
    ENSI_BIT_END = 256,
    ENSI_BIT_WAITING = 512,
    ENSI_BIT_GOAWAY = 1024
};

struct ensi_handle_t {
    uint32_t id;
    const ensi_kind_t *kind;
    ensi_call_t *call;              /* the one that it lives by */
    ensi_reopen_t *reopen;          /* its keeper; NULL: it is never opened again */
    void *user;
    bool held, ready;
    bool done;                      /* its last notice waits to be pulled, or was */
    bool ended;                     /* its last notice has been pulled */
    bool closing;                   /* ensign_close was called */
    bool standing;                  /* a stream that is opened again: the server has answered on it */
    uint32_t bits;                  /* ENSI_BIT_x that are pending */
    ensi_handle_t *before, *after;  /* in the ready list */
    ensi_handle_t *older, *newer;   /* in the list of those that live */
    ensi_handle_t *due_next;        /* while a tick goes through those that are due */
    uint64_t due_ms;                /* of the next timer; UINT64_MAX: none runs */
    uint32_t timed_at;              /* place in the heap */
    ensign_notice_t notice;
    ensign_error_t error;           /* what notice.error points at */
    ensign_error_t fault;           /* the last one; code 0: all is well. When it has ended: why */
    uint32_t noted, told;           /* marks of the last fault, and of the one that WAITING told */
    uint32_t told_gate;             /* what decides on the calls that wait, when it was looked at last */
    ensi_timer_t close_timer;       /* of ensign_close */
    ensi_timer_t give_up;           /* runs while its stream is refused again and again */
    ensign_stats_t stats;
};

typedef struct ensi_handles_t {
    ensi_handle_t **slots;          /* NULL: free */
    ensi_handle_t **timed;          /* the heap */
    uint16_t *generation;
    uint16_t *free_next;            /* queue of free slots */
    uint32_t count, alive, busy, timed_count, free_head, free_tail;
    ensi_handle_t *oldest, *newest;
    ensi_handle_t *ready_head, *ready_tail;
    ensi_handle_t *dying;
} ensi_handles_t;

static bool ensi_handles_open(ensi_handles_t *t, ensi_mem_t *m, uint32_t count)
{
    memset(t, 0, sizeof *t);
    t->slots = (ensi_handle_t **)ensi_mem_zero(m, count * sizeof *t->slots);
    t->timed = (ensi_handle_t **)ensi_mem_zero(m, count * sizeof *t->timed);
    t->generation = (uint16_t *)ensi_mem_zero(m, count * sizeof *t->generation);
    t->free_next = (uint16_t *)ensi_mem_zero(m, count * sizeof *t->free_next);
    t->count = count;
    if (!t->slots || !t->timed || !t->generation || !t->free_next) return false;
    for (uint32_t i = 0; i < count; i++) t->free_next[i] = (uint16_t)(i + 1 < count ? i + 1 : count);
    t->free_tail = count - 1;
    return true;
}

static void ensi_handles_close(ensi_handles_t *t, ensi_mem_t *m)
{
    ensi_mem_free(m, t->slots);
    ensi_mem_free(m, t->timed);
    ensi_mem_free(m, t->generation);
    ensi_mem_free(m, t->free_next);
}

/* Bytes that the tables take for so many handles. */
static size_t ensi_handles_size(uint32_t count)
{
    return (size_t)count * (2 * sizeof(ensi_handle_t *) + 2 * sizeof(uint16_t));
}

/* What is always true of one handle; for assertions. */
static ENSI_UNUSED bool ensi_handle_holds(const ensi_handles_t *t, const ensi_handle_t *h)
{
    bool timed = h->timed_at < t->timed_count && t->timed[h->timed_at] == h;
    return (!h->ready || !h->held) && (!h->ended || h->done) && timed == (h->due_ms != UINT64_MAX) &&
           t->busy <= t->alive && t->timed_count <= t->alive && t->alive <= t->count;
}

static ensi_handle_t *ensi_handle_find(const ensi_handles_t *t, uint32_t id)
{
    uint32_t slot = (id & 0xFFFF) - 1; /* id 0 wraps past any count */
    if (slot >= t->count || !t->slots[slot] || t->slots[slot]->id != id) return NULL;
    return t->slots[slot];
}

static bool ensi_handle_room(const ensi_handles_t *t)
{
    return t->alive < t->count;
}

static void ensi_handle_add(ensi_handles_t *t, ensi_handle_t *h, const ensi_kind_t *kind, void *user)
{
    uint32_t slot = t->free_head;
    ENSIGN_ASSERT(ensi_handle_room(t));
    t->free_head = t->free_next[slot];
    t->slots[slot] = h;
    t->alive++;
    t->busy++;
    h->id = ((uint32_t)t->generation[slot] << 16) | (slot + 1);
    h->kind = kind;
    h->user = user;
    h->due_ms = UINT64_MAX;
    h->timed_at = UINT32_MAX;
    h->older = t->newest;
    if (t->newest) t->newest->newer = h;
    else t->oldest = h;
    t->newest = h;
}

/* Nothing but a pull is left to do. */
static void ensi_handle_done(ensi_handles_t *t, ensi_handle_t *h)
{
    if (h->done) return;
    h->done = true;
    t->busy--;
}

/* ---- timers: a heap of handles by the time of their next one */

static void ensi_timed_put(ensi_handles_t *t, uint32_t at, ensi_handle_t *h)
{
    t->timed[at] = h;
    h->timed_at = at;
}

/* Moves what stands at `at` to where it belongs. */
static void ensi_timed_sift(ensi_handles_t *t, uint32_t at)
{
    ensi_handle_t *h = t->timed[at];
    for (uint32_t up; at > 0 && t->timed[up = (at - 1) / 2]->due_ms > h->due_ms; at = up)
        ensi_timed_put(t, at, t->timed[up]);
    for (uint32_t child; (child = 2 * at + 1) < t->timed_count; at = child) {
        if (child + 1 < t->timed_count && t->timed[child + 1]->due_ms < t->timed[child]->due_ms) child++;
        if (t->timed[child]->due_ms >= h->due_ms) break;
        ensi_timed_put(t, at, t->timed[child]);
    }
    ensi_timed_put(t, at, h);
}

/* The handle's next timer is due then; UINT64_MAX: none runs. */
static void ensi_handle_schedule(ensi_handles_t *t, ensi_handle_t *h, uint64_t due_ms)
{
    uint32_t at = h->timed_at;
    if (h->due_ms == due_ms) return;
    h->due_ms = due_ms;
    if (due_ms != UINT64_MAX) {
        if (at == UINT32_MAX) t->timed[at = t->timed_count++] = h;
        ensi_timed_sift(t, at);
        return;
    }
    h->timed_at = UINT32_MAX;
    if (at == --t->timed_count) return;
    ensi_timed_put(t, at, t->timed[t->timed_count]);
    ensi_timed_sift(t, at);
}

/* Takes those that are due out of the heap, as a list by due_next. */
static ensi_handle_t *ensi_handles_due(ensi_handles_t *t, uint64_t now_ms)
{
    ensi_handle_t *first = NULL, **last = &first;
    while (t->timed_count > 0 && t->timed[0]->due_ms <= now_ms) {
        ensi_handle_t *h = t->timed[0];
        ensi_handle_schedule(t, h, UINT64_MAX);
        h->due_next = NULL;
        *last = h;
        last = &h->due_next;
    }
    return first;
}

/* ---- the list of those that are ready to be pulled */

static void ensi_ready_remove(ensi_handles_t *t, ensi_handle_t *h)
{
    if (!h->ready) return;
    if (h->before) h->before->after = h->after;
    else t->ready_head = h->after;
    if (h->after) h->after->before = h->before;
    else t->ready_tail = h->before;
    h->before = h->after = NULL;
    h->ready = false;
}

static void ensi_ready_append(ensi_handles_t *t, ensi_handle_t *h)
{
    if (h->ready || h->held) return;
    h->before = t->ready_tail;
    h->after = NULL;
    if (t->ready_tail) t->ready_tail->after = h;
    else t->ready_head = h;
    t->ready_tail = h;
    h->ready = true;
}

static void ensi_handle_remove(ensi_handles_t *t, ensi_handle_t *h)
{
    uint32_t slot = (h->id & 0xFFFF) - 1;
    ensi_ready_remove(t, h);
    ensi_handle_schedule(t, h, UINT64_MAX);
    ensi_handle_done(t, h);
    if (h->older) h->older->newer = h->newer;
    else t->oldest = h->newer;
    if (h->newer) h->newer->older = h->older;
    else t->newest = h->older;
    t->slots[slot] = NULL;
    t->generation[slot]++;
    if (t->alive == t->count) t->free_head = slot;
    else t->free_next[t->free_tail] = (uint16_t)slot;
    t->free_tail = slot;
    t->alive--;
    if (t->dying == h) t->dying = NULL;
}

/* ---- notices */

/* The notice, emptied and addressed; the caller fills the rest. */
static ensign_notice_t *ensi_notice_new(ensi_handle_t *h, ensign_notice_type_t type)
{
    ensign_notice_t *n = &h->notice;
    memset(n, 0, sizeof *n);
    n->type = type;
    n->handle = h->id;
    n->user = h->user;
    return n;
}

/* Takes a bit's notice, if it is pending. */
static ensign_notice_t *ensi_notice_bit(ensi_handle_t *h, uint32_t bit, ensign_notice_type_t type)
{
    if (!(h->bits & bit)) return NULL;
    h->bits &= ~bit;
    return ensi_notice_new(h, type);
}

/* >>link   may call: util mem env trace http1 tls
 *          open to: auth state ping req client create
 * One connection: its life, buffers, a tunnel through a proxy, TLS; and its target, a server
 *
 * Owns   of a target: its endpoints, whose turn it is, the addresses of that one, what has failed, the
 *        backoff, the trust store.
 *        Of a link: receive and transmit buffer, the TLS of the connection, the timer of the attempt, the
 *        last fault.
 * Holds  state is assigned by ensi_link_move alone, from the table. A link has buffers from up until it
 *        is idle, and they do not move. What was not used of them is never written, so the system need not
 *        back it with memory.
 *        Of the links to one target one at most is in RESOLVE or DIAL.
 *        A round gives each endpoint of the target a turn, the one that worked last first, and a turn tries
 *        each address of its endpoint once; there is no backoff between them. An address has worked when the
 *        connection to it has (ensi_link_works); one that takes the connection, and no more, gets a share of
 *        the turn's time.
 *        Through a proxy the addresses are the proxy's. Until it has answered CONNECT the link has a tunnel,
 *        and neither TLS nor HTTP/2 sees a byte.
 *        An endpoint that is secure and not `tls` has the caller's TLS below it: here it is as plaintext.
 *        rx: taken whole by ensi_link_shake, then by ensi_link_read until AGAIN, so its room is never 0; but
 *        for an alert that TLS must send first and tx has no room for: the peer sends and does not read.
 *        tx: linear, rewound only when wholly acked, so that what the caller sees stands.
 * Moves  want (by client) -> RESOLVE or DIAL -> RUN -> down or HANGUP -> IDLE; after a round that failed the
 *        target waits.
 * Fails  `fault` says why, the first reason stands; code 0: we ended it ourselves. */
typedef enum {
    ENSI_LINK_IDLE,
    ENSI_LINK_RESOLVE,
    ENSI_LINK_DIAL,
    ENSI_LINK_RUN,
    ENSI_LINK_HANGUP,
    ENSI_LINK_STATES
} ensi_link_state_t;
typedef enum {
    ENSI_LINK_ON_NAME,      /* wanted, by name */
    ENSI_LINK_ON_ADDRESS,   /* wanted, the addresses are known */
    ENSI_LINK_ON_UP, ENSI_LINK_ON_DOWN,
    ENSI_LINK_ON_STOP,      /* we want it to end */
    ENSI_LINK_INPUTS
} ensi_link_in_t;

static const ensi_move_t ensi_link_moves[] = {
    { ENSI_LINK_IDLE,    ENSI_LINK_ON_NAME,    ENSI_LINK_RESOLVE },
    { ENSI_LINK_IDLE,    ENSI_LINK_ON_ADDRESS, ENSI_LINK_DIAL    },
    { ENSI_LINK_RESOLVE, ENSI_LINK_ON_ADDRESS, ENSI_LINK_DIAL    },
    { ENSI_LINK_RESOLVE, ENSI_LINK_ON_DOWN,    ENSI_LINK_IDLE    },
    /* nothing is open yet: no HANGUP to be answered */
    { ENSI_LINK_RESOLVE, ENSI_LINK_ON_STOP,    ENSI_LINK_IDLE    },
    { ENSI_LINK_DIAL,    ENSI_LINK_ON_UP,      ENSI_LINK_RUN     },
    { ENSI_LINK_DIAL,    ENSI_LINK_ON_DOWN,    ENSI_LINK_IDLE    },
    { ENSI_LINK_DIAL,    ENSI_LINK_ON_STOP,    ENSI_LINK_HANGUP  },
    { ENSI_LINK_RUN,     ENSI_LINK_ON_DOWN,    ENSI_LINK_IDLE    },
    { ENSI_LINK_RUN,     ENSI_LINK_ON_STOP,    ENSI_LINK_HANGUP  },
    { ENSI_LINK_HANGUP,  ENSI_LINK_ON_DOWN,    ENSI_LINK_IDLE    },
};

enum {
    ENSI_ADDRESS_BYTES = 128,       /* "unix:", a path of 107 bytes, and a NUL fit */
    ENSI_NUMERIC_BYTES = 64,        /* of an address that was resolved */
    ENSI_WHERE_BYTES = 80,
    ENSI_TUNNEL_BYTES = 512,        /* of what a proxy says when it refuses */
    /* that go through TLS at once: a whole record (RFC 8446, 5.1), where the transmit buffer has room for it
     * and for what TLS adds */
    ENSI_RECORD_BYTES = ENSIGN_LINK_BUFFER_BYTES < 19456 ? ENSIGN_LINK_BUFFER_BYTES / 8 * 7 - 512 : 16384,
    ENSI_CONNECT_MS = 20000         /* default of connect_timeout_ms; shared out where that is FOREVER */
};

typedef struct ensi_address_t {
    char text[ENSI_ADDRESS_BYTES];
    bool failed;                    /* in this turn */
} ensi_address_t;

/* A place to connect to. Of a unix socket the host is "unix:/path", which is its one address, and the port
 * is 0. */
typedef struct ensi_host_t {
    char *name;                     /* without brackets */
    uint16_t port;
    bool literal;                   /* `name` is an address */
    char where[ENSI_WHERE_BYTES];   /* host:port, for texts, cut if it is long */
} ensi_host_t;

/* An HTTP proxy. */
typedef struct ensi_proxy_t {
    ensi_host_t host;
    char *basic;                    /* user:password in base64; NULL: it is asked without */
    char *password;                 /* of it, which no text may show; NULL: none */
    const char *user_agent;
} ensi_proxy_t;

/* Where a server can be reached. */
typedef struct ensi_endpoint_t {
    ensi_host_t host;
    char *text;                     /* "host:port" or "unix:/path", whole */
    bool secure;                    /* encrypted on its way, by us or by the caller: https */
    bool tls;                       /* by us */
    const ensi_proxy_t *proxy;      /* NULL: it is reached without one */
    char good_address[ENSI_ADDRESS_BYTES];  /* that worked last; "": none yet */
#ifndef ENSIGN_NO_TLS
    ensi_tls_saved_t saved;         /* the session that the next connection can resume */
#endif
} ensi_endpoint_t;

/* A server with its endpoints, and what all links to it have alike. */
typedef struct ensi_target_t {
    const char *name;               /* "rpc" or "auth", in texts */
    ensi_endpoint_t *endpoints;     /* in the order of trying */
    size_t endpoint_count;
    size_t good;                    /* index of the endpoint that worked last */
    size_t turn;                    /* so many endpoints have had their turn in this round */
    ensi_endpoint_t *end;           /* whose turn it is; NULL: no round has begun yet */
    ensi_address_t addresses[ENSIGN_MAX_ADDRESSES];     /* of this turn, in the order of trying */
    size_t address_count;           /* 0: the turn has not begun */
    uint64_t turn_end_ms;           /* UINT64_MAX: the turn has no limit */
    ensi_backoff_t backoff;
    ensi_timer_t timer;             /* of the backoff: no attempt while it runs */
#ifndef ENSIGN_NO_TLS
    ensi_tls_opts_t tls_opts;
    const char *server_name;        /* NULL: the endpoint's host */
    ensi_tls_conf_t *conf;          /* trust store and random numbers, from the first connection on */
#endif
} ensi_target_t;

/* The answer of a proxy to CONNECT, while it is awaited. */
typedef struct ensi_tunnel_t {
    ensi_http1_t answer;
    uint8_t body[ENSI_TUNNEL_BYTES];
} ensi_tunnel_t;

typedef struct ensi_link_t {
    ensi_env_t *env;
    const char *name;               /* "rpc", "auth" or "rpc-2", in the log */
    ensi_target_t *target;
    ensi_endpoint_t *end;           /* that it is connected to, or was last; NULL: none yet */
    ensi_link_state_t state;
    uint32_t attempt;
    const char *addresses[ENSIGN_MAX_ADDRESSES];    /* DIAL: the target's that have not failed yet */
    size_t address_count;
    ensi_address_t *address;        /* RUN: that it tries; NULL: not known, or it has worked */
    char peer[ENSI_ADDRESS_BYTES];  /* the address that it is connected to, or was last; "": not known */
    ensi_trace_t *trace;            /* NULL: no trace hook */
    bool trying;                    /* from the beginning of an attempt until the connection works */
    ensi_tunnel_t *tunnel;          /* RUN: the proxy has not answered CONNECT yet; else NULL */
    ensi_buf_t rx, tx;
    size_t rx_used, tx_used;        /* bytes of each that were written since they were taken */
    ensi_timer_t timer;             /* of the attempt */
    uint64_t since_ms;              /* RUN: when the connection was made */
    bool heard;                     /* bytes have come on this connection */
    bool orderly;                   /* it ends by agreement: no failure, no backoff */
    bool failed;                    /* its end was the last failure of a round: the target waits */
    ensign_error_t fault;           /* why it went down last; code 0: as we wanted */
    bool shaken;                    /* handshake done, or none needed */
#ifndef ENSIGN_NO_TLS
    ensi_tls_t *tls;                /* NULL: no connection with TLS yet */
    uint8_t *plain;                 /* one record each way: received, then to send */
    size_t plain_used[2];           /* bytes of each half that were written since it was taken */
#endif
} ensi_link_t;

/* What a link takes for TLS, beside mbedTLS's own. */
#ifndef ENSIGN_NO_TLS
enum { ENSI_LINK_TLS = (int)sizeof(ensi_tls_t) + ENSI_MEM_HEADER + 2 * ENSI_RECORD_BYTES };
#else
enum { ENSI_LINK_TLS = 0 };
#endif

static bool ensi_link_move(ensi_link_t *l, ensi_link_in_t in)
{
    int to = ensi_move(ensi_link_moves, ENSI_COUNT(ensi_link_moves), (int)l->state, (int)in);
    if (to < 0) return false;
    l->state = (ensi_link_state_t)to;
    return true;
}

/* Returns the place that the link dials: the endpoint, or the proxy on the way to it. */
static const ensi_host_t *ensi_link_host(const ensi_link_t *l)
{
    return l->end->proxy ? &l->end->proxy->host : &l->end->host;
}

/* Is the connection's TLS the caller's? */
static bool ensi_link_is_external(const ensi_link_t *l)
{
    return l->end && l->end->secure && !l->end->tls;
}

/* Returns the endpoint for texts: before a first attempt that is the one to begin with. */
static const char *ensi_link_where(const ensi_link_t *l)
{
    const ensi_target_t *t = l->target;
    if (l->end) return l->end->host.where;
    return t->endpoint_count > 0 ? t->endpoints[t->good].host.where : "the server";
}

static int ensi_link_buffers(ensi_link_t *l)
{
    ensi_mem_t *m = &l->env->mem;
    l->rx.ptr = (uint8_t *)ensi_mem_take(m, ENSIGN_LINK_BUFFER_BYTES);
    l->tx.ptr = (uint8_t *)ensi_mem_take(m, ENSIGN_LINK_BUFFER_BYTES);
    l->rx.cap = l->tx.cap = ENSIGN_LINK_BUFFER_BYTES;
#ifndef ENSIGN_NO_TLS
    if (l->end->tls) l->tls = (ensi_tls_t *)ensi_mem_zero(m, sizeof *l->tls);
    if (l->end->tls) l->plain = (uint8_t *)ensi_mem_take(m, 2 * ENSI_RECORD_BYTES);
    if (l->end->tls && (!l->tls || !l->plain)) return ENSIGN_E_MEMORY;
#endif
    return l->rx.ptr && l->tx.ptr ? ENSIGN_OK : ENSIGN_E_MEMORY;
}

/* Makes the whole buffer room again. */
static void ensi_link_empty(ensi_buf_t *b, size_t *used)
{
    *used = ensi_max(*used, b->end);
    b->start = b->end = 0;
}

/* The same, once all of it is acked or taken. */
static void ensi_link_rewind_rx(ensi_link_t *l)
{
    if (l->rx.start == l->rx.end) ensi_link_empty(&l->rx, &l->rx_used);
}

static void ensi_link_rewind_tx(ensi_link_t *l)
{
    if (l->tx.start == l->tx.end) ensi_link_empty(&l->tx, &l->tx_used);
}

/* Wipes the proxy's answer, as it may repeat the credentials. */
static void ensi_link_end_tunnel(ensi_link_t *l)
{
    if (l->tunnel) ensi_wipe(l->tunnel, sizeof *l->tunnel);
    ensi_mem_free(&l->env->mem, l->tunnel);
    l->tunnel = NULL;
}

/* Wipes what was used of the buffers: tokens and the key went through them. */
static void ensi_link_wipe(ensi_link_t *l)
{
    ensi_link_empty(&l->rx, &l->rx_used);
    ensi_link_empty(&l->tx, &l->tx_used);
    if (l->rx.ptr) ensi_wipe(l->rx.ptr, l->rx_used);
    if (l->tx.ptr) ensi_wipe(l->tx.ptr, l->tx_used);
    l->rx_used = l->tx_used = 0;
#ifndef ENSIGN_NO_TLS
    if (l->plain) ensi_wipe(l->plain, l->plain_used[0]);
    if (l->plain) ensi_wipe(l->plain + ENSI_RECORD_BYTES, l->plain_used[1]);
    l->plain_used[0] = l->plain_used[1] = 0;
#endif
}

/* Frees what belongs to the connection, which is over, with the buffers. */
static void ensi_link_free(ensi_link_t *l)
{
    ensi_mem_t *m = &l->env->mem;
    ensi_link_end_tunnel(l);
    ensi_link_wipe(l);
    ensi_mem_free(m, l->rx.ptr);
    ensi_mem_free(m, l->tx.ptr);
    memset(&l->rx, 0, sizeof l->rx);
    memset(&l->tx, 0, sizeof l->tx);
    l->shaken = false;
#ifndef ENSIGN_NO_TLS
    if (l->tls) ensi_tls_close(l->tls);
    ensi_mem_free(m, l->tls);
    ensi_mem_free(m, l->plain);
    l->tls = NULL;
    l->plain = NULL;
#endif
}

/* Returns the bytes that the buffers of a link to this target take. */
static size_t ensi_target_memory(const ensi_target_t *t)
{
    bool tls = t->endpoint_count > 0 && t->endpoints[0].tls;
    return 2 * (size_t)ENSIGN_LINK_BUFFER_BYTES + (tls ? (size_t)ENSI_LINK_TLS : 0);
}

static void ensi_target_free(ensi_target_t *t, ensi_mem_t *m)
{
    for (size_t i = 0; i < t->endpoint_count; i++) {
        ensi_mem_free(m, t->endpoints[i].host.name);
        ensi_mem_free(m, t->endpoints[i].text);
#ifndef ENSIGN_NO_TLS
        ensi_tls_forget(&t->endpoints[i].saved);
#endif
    }
    ensi_mem_free(m, t->endpoints);
#ifndef ENSIGN_NO_TLS
    if (t->conf) ensi_tls_conf_close(t->conf);
    ensi_mem_free(m, t->conf);
#endif
}

static bool ensi_target_is_v6(const char *address)
{
    return strchr(address, ':') != NULL;
}

/* Finds the first address from `from` on that is of that family, and returns `count` when none is. */
static size_t ensi_target_family(const char *const *addresses, size_t count, size_t from, bool v6)
{
    while (from < count && ensi_target_is_v6(addresses[from]) != v6) from++;
    return from;
}

/* Puts the addresses of a turn into the order in which they are tried: the families take turns, the
 * resolver's first one begins (RFC 8305, section 4); what worked the last time goes before all. */
static void ensi_target_set_addresses(ensi_target_t *t, const char *const *addresses, size_t count)
{
    size_t next[2] = { 0, 0 };
    bool v6 = count > 0 && ensi_target_is_v6(addresses[0]);
    t->address_count = 0;
    while (t->address_count < ENSIGN_MAX_ADDRESSES) {
        size_t at = ensi_target_family(addresses, count, next[v6], v6);
        if (at == count) v6 = !v6, at = ensi_target_family(addresses, count, next[v6], v6);
        if (at == count) break;
        next[v6] = at + 1;
        v6 = !v6;
        ensi_fmt(t->addresses[t->address_count].text, ENSI_ADDRESS_BYTES, "%s", addresses[at]);
        t->addresses[t->address_count].failed = false;
        t->address_count++;
    }
    for (size_t i = 1; i < t->address_count; i++) {
        ensi_address_t good = t->addresses[i];
        if (strcmp(good.text, t->end->good_address) != 0) continue;
        memmove(&t->addresses[1], &t->addresses[0], i * sizeof good);
        t->addresses[0] = good;
        break;
    }
}

/* Returns how many addresses of this turn are left to try. */
static size_t ensi_target_untried(const ensi_target_t *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->address_count; i++) n += !t->addresses[i].failed;
    return n;
}

/* Returns how many milliseconds are left of this turn. */
static uint32_t ensi_target_left(const ensi_target_t *t, uint64_t now_ms)
{
    if (t->turn_end_ms == UINT64_MAX) return ENSIGN_FOREVER;
    return t->turn_end_ms > now_ms ? (uint32_t)(t->turn_end_ms - now_ms) : 0;
}

/* Gives the next endpoint of the round its turn: first the one that worked last, then the others in their
 * order. */
static void ensi_target_next(ensi_target_t *t, uint64_t end_ms)
{
    size_t at = t->turn == 0 ? t->good : t->turn - (t->turn <= t->good ? 1 : 0);
    t->end = &t->endpoints[at];
    t->address_count = 0;
    t->turn_end_ms = end_ms;
}

/* Does the backoff run? No attempt is made meanwhile. */
static bool ensi_target_waits(const ensi_target_t *t)
{
    return t->timer.state != ENSI_TIMER_OFF;
}

/* One more failure in a row: the next attempt waits, and begins a new round. */
static void ensi_target_fail(ensi_target_t *t, ensi_env_t *env)
{
    uint32_t wait_ms;
    t->address_count = t->turn = 0;
    ensi_backoff_fail(&t->backoff, env);
    wait_ms = ensi_backoff_draw(&t->backoff, env);
    ensi_timer_start(&t->timer, wait_ms);
    ENSI_LOG((env, ENSIGN_LOG_DEBUG, "%s: next attempt in %lu ms, failures in a row: %lu", t->name,
              (unsigned long)wait_ms, (unsigned long)t->backoff.failures));
}

/* The addresses of the turn that are left go to the caller. */
static void ensi_link_dial(ensi_link_t *l)
{
    ensi_target_t *t = l->target;
    l->address_count = 0;
    for (size_t i = 0; i < t->address_count; i++)
        if (!t->addresses[i].failed) l->addresses[l->address_count++] = t->addresses[i].text;
    ensi_must(ensi_link_move(l, ENSI_LINK_ON_ADDRESS));
    ENSI_LOG((l->env, ENSIGN_LOG_DEBUG, "%s: connecting to %s, addresses: %lu, first %s", l->name,
              ensi_link_host(l)->where, (unsigned long)l->address_count, l->addresses[0]));
}

/* Starts to connect, if nothing is in the way: to the next address of the turn, or to the next endpoint of
 * the round, which gets timeout_ms. */
static void ensi_link_want(ensi_link_t *l, uint32_t timeout_ms)
{
    ensi_target_t *t = l->target;
    uint64_t now_ms = l->env->now_ms;
    if (l->state != ENSI_LINK_IDLE || ensi_target_waits(t)) return;
    l->attempt++;
    l->fault.code = 0;
    l->orderly = l->failed = false;
    l->trying = true;
    l->address = NULL;
    l->peer[0] = '\0';
    if (ensi_target_untried(t) == 0 || ensi_target_left(t, now_ms) == 0)
        ensi_target_next(t, timeout_ms == ENSIGN_FOREVER ? UINT64_MAX : now_ms + timeout_ms);
    l->end = t->end;
    if (t->address_count == 0 && ensi_link_host(l)->literal) {
        const char *address = ensi_link_host(l)->name;
        ensi_target_set_addresses(t, &address, 1);
    }
    if (t->address_count > 0) {
        ensi_link_dial(l);
    } else {
        ensi_must(ensi_link_move(l, ENSI_LINK_ON_NAME));
        ENSI_LOG((l->env, ENSIGN_LOG_DEBUG, "%s: resolving %s", l->name, ensi_link_host(l)->name));
    }
    ensi_timer_start(&l->timer, ensi_target_left(t, l->env->now_ms));
}

/* The connection is what was wanted: its endpoint and address are tried first the next time, and the round is
 * over. */
static void ensi_link_works(ensi_link_t *l)
{
    ensi_target_t *t = l->target;
    if (l->address) memcpy(l->end->good_address, l->address->text, sizeof l->end->good_address);
    t->good = (size_t)(l->end - t->endpoints);
    l->address = NULL;
    l->trying = false;
    t->address_count = t->turn = 0;
}

/* The connection is gone; l->fault says why, code 0 when we ended it ourselves. Where the turn has another
 * address, or the round another endpoint, that one is due at once, else the target waits. */
static void ensi_link_rest(ensi_link_t *l)
{
    ensi_target_t *t = l->target;
    bool one = l->address != NULL;
    ENSI_LOG((l->env, ENSIGN_LOG_DEBUG, "%s: idle", l->name));
    ensi_link_free(l);
    ensi_timer_stop(&l->timer);
    if (one && l->fault.code != 0) l->address->failed = true;
    l->address = NULL;
    if (l->fault.code == 0 || l->orderly) return;
    if (one && ensi_target_untried(t) > 0 && ensi_target_left(t, l->env->now_ms) > 0) return;
    t->address_count = 0;
    if (l->trying && ++t->turn < t->endpoint_count) return;
    l->failed = true;
    ensi_target_fail(t, l->env);
}

/* Has it failed, and is the next address or endpoint of the round due at once? */
static bool ensi_link_goes_on(const ensi_link_t *l)
{
    return l->state == ENSI_LINK_IDLE && l->fault.code != 0 && !l->orderly && !l->failed;
}

static void ensi_link_down(ensi_link_t *l)
{
    if (ensi_link_move(l, ENSI_LINK_ON_DOWN)) ensi_link_rest(l);
}

/* Ends the connection from our side; keep the first reason. */
static void ensi_link_stop(ensi_link_t *l)
{
#ifndef ENSIGN_NO_TLS
    if (l->state == ENSI_LINK_RUN && l->end->tls && l->shaken) {
        ensi_link_rewind_tx(l);
        ensi_tls_bye(l->tls);
    }
#endif
    if (!ensi_link_move(l, ENSI_LINK_ON_STOP)) return;
    if (l->state == ENSI_LINK_IDLE) {
        ensi_link_rest(l);
        return;
    }
    ENSI_LOG((l->env, ENSIGN_LOG_DEBUG, "%s: hanging up", l->name));
    ensi_timer_stop(&l->timer);
}

static void ensi_link_fault(ensi_link_t *l, int code, int native, const char *format, ...) ENSI_PRINTF(4, 5);
static void ensi_link_fault(ensi_link_t *l, int code, int native, const char *format, ...)
{
    va_list args;
    if (l->fault.code != 0) return;
    va_start(args, format);
    ensi_fail_v(&l->fault, code, native, format, args);
    va_end(args);
}
#ifdef ENSIGN_NO_ERROR_TEXT
#define ensi_link_fault(l, code, native, ...) \
    (ENSI_NO_WORDS(__VA_ARGS__), ensi_link_fault(l, code, native, "?"))
#endif

#ifndef ENSIGN_NO_TLS
/* The trust store, our certificate and its key are read at the first connection, and kept; when that fails
 * the next attempt reads them anew. */
static int ensi_link_open_conf(ensi_link_t *l)
{
    ensi_target_t *t = l->target;
    int rc;
    if (t->conf) return ENSIGN_OK;
    t->conf = (ensi_tls_conf_t *)ensi_mem_zero(&l->env->mem, sizeof *t->conf);
    if (!t->conf)
        return ensi_fail(&l->fault, ENSIGN_E_MEMORY, 0, "tls: no memory for the settings of %s",
                         l->end->host.where);
    rc = ensi_tls_conf_open(t->conf, &t->tls_opts, &l->fault);
    if (rc == ENSIGN_OK) return rc;
    ensi_tls_conf_close(t->conf);
    ensi_mem_free(&l->env->mem, t->conf);
    t->conf = NULL;
    return rc;
}

#endif

/* Returns the name that the server's certificate must have. The one at a unix socket is this machine. */
static const char *ensi_link_server_name(const ensi_link_t *l)
{
#ifndef ENSIGN_NO_TLS
    if (l->target->server_name) return l->target->server_name;
#endif
    return l->end->host.port == 0 ? "localhost" : l->end->host.name;
}

static int ensi_link_open_tls(ensi_link_t *l)
{
#ifndef ENSIGN_NO_TLS
    const ensi_target_t *t = l->target;
    const char *where = l->end->host.where;
    int rc;
    if (!l->end->tls) return ENSIGN_OK;
    if (t->tls_opts.insecure_skip_verify || t->tls_opts.ignore_dates)
        ENSI_LOG(
            (l->env, ENSIGN_LOG_WARNING, "tls: %s of %s is off; for tests only",
             t->tls_opts.insecure_skip_verify ? "certificate verification" : "checking of certificate dates",
             where));
    if (t->tls_opts.key_log)
        ENSI_LOG((l->env, ENSIGN_LOG_WARNING,
                  "tls: key_log has the secrets of the connection to %s, which decrypt it; for tests only",
                  where));
    rc = ensi_link_open_conf(l);
    if (rc != ENSIGN_OK) return rc;
    rc = ensi_tls_open(l->tls, t->conf, ensi_link_server_name(l), where, &l->rx, &l->tx, &l->fault);
    if (rc == ENSIGN_OK)
        ensi_tls_resume(l->tls, &l->end->saved, l->end->host.name, l->end->host.port, l->env->now_ms);
    return rc;
#else
    (void)l;
    return ENSIGN_OK;
#endif
}

/* What is always true; for assertions. */
static ENSI_UNUSED bool ensi_link_holds(const ensi_link_t *l)
{
    bool runs = l->state == ENSI_LINK_RUN || l->state == ENSI_LINK_HANGUP;
    return l->rx.start <= l->rx.end && l->rx.end <= l->rx.cap && l->tx.start <= l->tx.end &&
           l->tx.end <= l->tx.cap && (runs || (l->rx.end == 0 && l->tx.end == 0)) &&
           (l->state != ENSI_LINK_DIAL || l->address_count > 0) &&
           (!l->address || l->target->address_count > 0) && (!l->tunnel || (runs && !l->shaken));
}

/* ---- the tunnel through a proxy */

/* Asks the proxy for a connection to the endpoint (RFC 9110, 9.3.6). */
static int ensi_link_open_tunnel(ensi_link_t *l)
{
    const ensi_proxy_t *proxy = l->end->proxy;
    ensi_buf_t *tx = &l->tx;
    size_t len = 0;
    int rc;
    if (!ENSI_HAS_PROXY || !proxy) return ENSIGN_OK;
    l->tunnel = (ensi_tunnel_t *)ensi_mem_zero(&l->env->mem, sizeof *l->tunnel);
    if (!l->tunnel) return ENSIGN_E_MEMORY;
    ensi_http1_init(&l->tunnel->answer, l->tunnel->body, sizeof l->tunnel->body);
    l->tunnel->answer.connect = true;
    rc = ensi_http1_connect((char *)tx->ptr, tx->cap, &len, l->end->text, proxy->user_agent,
                            proxy->basic);
    tx->end = len;
    if (l->trace) {
        l->tunnel->answer.names = &l->trace->in;
        ensi_trace_request(l->trace, ensi_slice(tx->ptr, len), 0);
    }
    return rc;
}

/* The proxy refuses, or another kind of server answers. Its own words say why: they go into the text without
 * the tags of HTML. */
static int ensi_link_refused(ensi_link_t *l)
{
    const ensi_http1_t *x = &l->tunnel->answer;
    const char *proxy = l->end->proxy->host.where, *where = l->end->host.where, *advice = "";
    char said[100];
    size_t len;
    if (x->status < 300) {
        ensi_link_fault(l, ENSIGN_E_PROXY, x->status,
                        "proxy: %.50s does not answer CONNECT %.40s in HTTP/1.1: %s; "
                        "is proxy (HTTPS_PROXY) right?",
                        proxy, where, x->what ? x->what : "nothing came");
        return ENSIGN_E_PROXY;
    }
    if (x->status == 407 || x->status == 401)
        advice = l->end->proxy->basic ? "; it refuses user or password of proxy (HTTPS_PROXY)"
                                      : "; set proxy to http://user:password@host:port";
    if (x->status == 403) advice = "; have the proxy allow this host and port";
    if (x->status >= 500) advice = "; can the proxy reach it?";
    len = ensi_env_hide(l->env, (char *)l->tunnel->body, x->body_len); /* it may repeat the password */
    ensi_http1_words(ensi_slice(x->body, len), said, sizeof said);
    ensi_link_fault(l, ENSIGN_E_PROXY, x->status, "proxy: %.50s answers CONNECT %.40s with HTTP %d%s%s%s",
                    proxy, where, x->status, said[0] ? ": " : "", said, advice);
    return ENSIGN_E_PROXY;
}

/* The proxy has not answered whole in time; what it said so far may tell why. */
static void ensi_link_stalled(ensi_link_t *l, const char *limit)
{
    if (l->tunnel->answer.status >= 300) (void)ensi_link_refused(l);
    ensi_link_fault(l, ENSIGN_E_STALLED, 0, "proxy: %.70s did not answer CONNECT %.70s within %s",
                    l->end->proxy->host.where, l->end->host.where, limit);
}

/* Reads the proxy's answer. OK: the bytes behind it are the endpoint's. AGAIN, or an error, which is the
 * link's fault then. Where TLS is the caller's, CONNECT must be wholly sent before, or its rest would go into
 * that TLS, to the endpoint. Nothing may follow the answer: it would count as decrypted. */
static int ensi_link_dig(ensi_link_t *l)
{
    ensi_http1_t *x = &l->tunnel->answer;
    size_t used = 0;
    int rc;
    if (ensi_link_is_external(l) && l->tx.start != l->tx.end) return ENSIGN_AGAIN;
    rc = ensi_http1_eat(x, l->rx.ptr + l->rx.start, l->rx.end - l->rx.start, &used);
    l->rx.start += used;
    ensi_link_rewind_rx(l);
    if (rc == ENSIGN_AGAIN) return rc;
    if (l->trace && x->status) ensi_trace_answer(l->trace, x->status, x->body_len);
    if (rc != ENSIGN_OK || x->status >= 300) return ensi_link_refused(l);
    if (ensi_link_is_external(l) && l->rx.start != l->rx.end)
        return ensi_fail(&l->fault, ENSIGN_E_PROXY, x->status,
                         "proxy: bytes follow the answer of %.50s to CONNECT %.40s, before TLS has begun; "
                         "they are not the server's",
                         l->end->proxy->host.where, l->end->host.where);
    ENSI_LOG((l->env, ENSIGN_LOG_DEBUG, "%s: the proxy has connected to %s", l->name, l->end->host.where));
    ensi_link_end_tunnel(l);
    l->shaken = !l->end->tls;
    return ENSIGN_OK;
}

/* The connection is made, to the address of that index. It gets a share of the time that the turn has left:
 * a server that stays mute must not use up the time of the others. The last one gets twice as much, so that
 * the second of two has answered within half of the time. */
static void ensi_link_up(ensi_link_t *l, size_t address)
{
    ensi_target_t *t = l->target;
    uint32_t untried = (uint32_t)ensi_target_untried(t), left = ensi_target_left(t, l->env->now_ms);
    if (!ensi_link_move(l, ENSI_LINK_ON_UP)) return;
    for (size_t i = 0; i < t->address_count && address < l->address_count; i++)
        if (l->addresses[address] == t->addresses[i].text) l->address = &t->addresses[i];
    if (l->address) memcpy(l->peer, l->address->text, sizeof l->peer);
    ENSI_LOG((l->env, ENSIGN_LOG_DEBUG, "%s: running, to %s", l->name,
              l->address ? l->peer : l->end->host.where));
    if (untried > 1 && left == ENSIGN_FOREVER) left = ENSI_CONNECT_MS;
    if (left != ENSIGN_FOREVER) ensi_timer_start(&l->timer, left / (untried > 1 ? untried + 1 : 1));
    l->since_ms = l->env->now_ms;
    l->shaken = !l->end->tls && !l->end->proxy;
    l->heard = false;
    if (ensi_link_buffers(l) != ENSIGN_OK || ensi_link_open_tunnel(l) != ENSIGN_OK)
        ensi_link_fault(l, ENSIGN_E_MEMORY, 0, "%s: no memory for the buffers of %s", t->name,
                        l->end->host.where);
    else if (ensi_link_open_tls(l) != ENSIGN_OK)
        ensi_link_fault(l, ENSIGN_E_TLS, 0, "tls: cannot be set up for %s", l->end->host.where);
    if (l->fault.code != 0) ensi_link_stop(l);
}

/* Does the caller owe its TLS now? With an endpoint behind a proxy it does once the tunnel stands. */
static bool ensi_link_wants_tls(const ensi_link_t *l)
{
    bool runs = l->state == ENSI_LINK_RUN || l->state == ENSI_LINK_HANGUP;
    if (!ensi_link_is_external(l) || l->tunnel) return false;
    return runs || (l->state == ENSI_LINK_DIAL && !l->end->proxy);
}

/* Fills what is known of a link that runs. */
static void ensi_link_tell(const ensi_link_t *l, ensign_link_info_t *out)
{
    out->endpoint = l->end->text;
    out->proxy = l->end->proxy ? l->end->proxy->host.where : NULL;
    out->address = l->peer[0] ? l->peer : NULL;
    out->age_ms = l->env->now_ms - l->since_ms;
    out->external = ensi_link_is_external(l);
#ifndef ENSIGN_NO_TLS
    if (!l->end->tls || !l->shaken) return;
    ensi_tls_tell(l->tls, &out->tls_version, &out->cipher, &out->alpn);
    out->resumed = ensi_tls_resumed(l->tls);
#endif
}

#ifndef ENSIGN_NO_TLS
/* The handshake is over. */
static void ensi_link_log_tls(ensi_link_t *l)
{
#ifndef ENSIGN_NO_LOG_TEXT
    ensign_link_info_t info;
    memset(&info, 0, sizeof info);
    ensi_link_tell(l, &info);
    ENSI_LOG((l->env, ENSIGN_LOG_DEBUG, "%s: %s handshake done%s, %s, ALPN %s", l->name, info.tls_version,
              info.resumed ? " by a ticket" : "", info.cipher, info.alpn ? info.alpn : "none"));
#else
    (void)l;
#endif
}
#endif

/* Shakes hands as far as it goes. AGAIN, OK or an error, which is the link's fault then. */
static int ensi_link_shake(ensi_link_t *l)
{
    int rc = ENSI_HAS_PROXY && l->tunnel ? ensi_link_dig(l) : ENSIGN_OK;
    if (rc != ENSIGN_OK) return rc;
#ifndef ENSIGN_NO_TLS
    if (l->shaken) return ENSIGN_OK;
    ensi_link_rewind_tx(l);
    rc = ensi_tls_handshake(l->tls, &l->fault);
    ensi_link_rewind_rx(l);
    if (rc != ENSIGN_OK) return rc;
    l->shaken = true;
    ensi_link_log_tls(l);
#endif
    return rc;
}

/* The next received bytes, decrypted: OK with *out and *len, AGAIN when there are no more, or an error.
 * They stand until the next call. */
static int ensi_link_read(ensi_link_t *l, const uint8_t **out, size_t *len)
{
    if (!l->end->tls) {
        *out = l->rx.ptr + l->rx.start;
        *len = l->rx.end - l->rx.start;
        ensi_link_empty(&l->rx, &l->rx_used);
        return *len > 0 ? ENSIGN_OK : ENSIGN_AGAIN;
    }
#ifndef ENSIGN_NO_TLS
    {
        int rc;
        ensi_link_rewind_tx(l); /* TLS may owe an alert before it reads on */
        rc = ensi_tls_read(l->tls, l->plain, ENSI_RECORD_BYTES, len, &l->fault);
        l->plain_used[0] = ensi_max(l->plain_used[0], *len);
        *out = l->plain;
        ensi_link_rewind_rx(l);
        return rc;
    }
#else
    return ENSIGN_AGAIN;
#endif
}

/* Returns where the next bytes to send may be written, and how many fit; *room is 0 while a whole record does
 * not fit. The caller wipes what it writes there and does not commit. */
static uint8_t *ensi_link_reserve(ensi_link_t *l, size_t *room)
{
    ensi_buf_t *tx = &l->tx;
    *room = 0;
    if (l->state != ENSI_LINK_RUN || !l->shaken) return NULL;
    ensi_link_rewind_tx(l);
#ifndef ENSIGN_NO_TLS
    if (l->end->tls) {
        if (tx->cap - tx->end < ensi_tls_record_room(l->tls, ENSI_RECORD_BYTES)) return NULL;
        *room = ENSI_RECORD_BYTES;
        return l->plain + ENSI_RECORD_BYTES;
    }
#endif
    *room = tx->cap - tx->end;
    return tx->ptr + tx->end;
}

static int ensi_link_commit(ensi_link_t *l, size_t len)
{
    if (len == 0) return ENSIGN_OK;
#ifndef ENSIGN_NO_TLS
    if (l->end->tls) {
        l->plain_used[1] = ensi_max(l->plain_used[1], len);
        return ensi_tls_write(l->tls, l->plain + ENSI_RECORD_BYTES, len, &l->fault);
    }
#endif
    l->tx.end += len;
    return ENSIGN_OK;
}

/* >>h2   may call: util mem env trace
 *        open to: grpc state ping reopen call ask pub catchup sub req client create
 * HTTP/2: one nghttp2 client session, its streams, their receive buffers
 *
 * Owns   the session; the list of streams that are on the wire; the list of those that something happened to
 *        ("touched").
 * Holds  nghttp2's callbacks note facts in the stream and touch it; that of DATA also has the owner write the
 *        payload. The pump of client acts on the facts after the call has returned.
 *        SETTINGS_INITIAL_WINDOW_SIZE is 0, and the credit of a stream goes out by WINDOW_UPDATE behind its
 *        HEADERS, so that it never exceeds the room of its buffer: end + credit <= cap - spare for each
 *        stream, always (but for a gap of sub, which `spare` is for). nghttp2 is the ledger of credit, and
 *        returns that of padding itself.
 *        A stream has at most one WINDOW_UPDATE of ours in nghttp2's queue.
 *        Connection credit returns whether or not a stream is read: a slow reader holds up its own stream and
 *        no other.
 *        The payload of a DATA frame is copied once, from its owner to where the frame goes: `to` and `room`
 *        say where, while ensi_h2_send runs and no longer.
 *        What nghttp2 gives back is wiped: it has copies of the token.
 * Moves  ensi_h2_start .. ensi_h2_stop around each connection; a stream from ensi_h2_submit to `closed`.
 * Fails  a peer's fault ends the session: ensi_h2_receive gives E_PROTOCOL with a text. So does a frame that
 *        could not be queued: E_MEMORY from the next receive or send. */
#include <nghttp2/nghttp2.h>

enum {
    ENSI_H2_FRAME_BYTES = 16375, /* of DATA: with its 9-byte header it fills one TLS record */
    ENSI_H2_HEADERS = 65536,     /* default, and most, of max_header_bytes: nghttp2 takes no more */
    ENSI_H2_ACKS = 100,          /* unsent answers to PING and SETTINGS, of a peer that does not read */
    ENSI_H2_BASE = 48 * 1024,    /* what a session takes, with its frame buffer and its tables */
    ENSI_H2_WINDOW = 65535,      /* of a new connection, RFC 9113 6.9.2 */
    ENSI_H2_HEAD = 9,            /* bytes of a frame's header, RFC 9113 4.1; the first three are its length */
    ENSI_H2_SCRAP = 256,         /* bytes at the end of a buffer: less is not used for DATA */
    ENSI_H2_TOO_MANY_FRAMES = -905, /* NGHTTP2_ERR_TOO_MANY_CONTINUATIONS, which 1.60 and older do not have */
    ENSI_GRPC_PREFIX = 5,
    ENSI_RX_SURPLUS = 256,       /* a frame of padding alone, RFC 9113 6.1 */
    ENSI_RX_HEAD = 64,           /* of a message that is refused: so much has room, to tell what it was */
    ENSI_RX_RECENT = 64,         /* messages: so long a large one is remembered */
    ENSI_H2_WORDS = 100          /* kept of an answer that is not gRPC, with its NUL */
};

/* A stream's receive buffer. [start, start + lent) is what a notice points into, [start + lent, end) waits.
 * When the next message cannot be completed behind what is lent, it goes on in a second buffer; the first
 * one, lent_ptr then, stands until it is released, and is kept for the next time.
 * Where what is lent stands in the back half, the buffer begins anew in front of it. Then `cap` is where that
 * begins, and `full` what it was, until it is released.
 * A message over the usual size makes `cap` larger, and behind it `cap` is the usual one again: it bounds the
 * credit. The block behind `cap` is given back at once too, unless large messages are what comes: from the
 * second within ENSI_RX_RECENT on the blocks keep their size, two of them at most, until so many usual ones
 * have come in a row. So steady state does not allocate, whatever the sizes. */
typedef struct ensi_rx_t {
    uint8_t *ptr;
    uint8_t *lent_ptr;
    uint8_t *idle;                      /* free: of usual size, or a large one while these are kept */
    uint32_t recent;                    /* so many more usual messages until a large one is forgotten */
    bool keeps;                         /* large blocks */
    size_t cap, start, end, lent;
    size_t full;                        /* 0: nothing is lent behind `cap` */
    size_t window, limit;               /* usual size; largest message with its prefix */
    size_t spare;                       /* room that is never promised to the peer */
    size_t skip;                        /* bytes of an unwanted message that are still to come */
    bool one;                           /* of a unary call: a second message is a fault, and not stored */
    bool surplus;                       /* there is one */
} ensi_rx_t;

typedef struct ensi_stream_t ensi_stream_t;
typedef struct ensi_h2_t ensi_h2_t;
/* The streams that something happened to. */
typedef struct ensi_touched_t { ensi_stream_t *first; } ensi_touched_t;
struct ensi_stream_t {
    ensi_h2_t *h2;                      /* the session that carries it; NULL: it is not on the wire */
    ensi_h2_t *carrier;                 /* that carries it, or did last; NULL: none did */
    ensi_stream_t *before, *after;      /* on the wire */
    ensi_stream_t *touched_next;
    int32_t id;                         /* 0: not on the wire */
    bool touched;
    /* set by the owner */
    ensi_touched_t *list;               /* where it is touched: one list for all connections */
    size_t (*read)(ensi_stream_t *s, uint8_t *out, size_t cap, bool *eof);
    void (*header)(ensi_stream_t *s, ensign_slice_t name, ensign_slice_t value);
    const char *any_bytes;              /* the header whose value may have control characters; NULL: none */
    ensi_rx_t rx;
    /* facts */
    bool headers_sent, headers_done;    /* ours are out; a block of the server's is in */
    bool initial;                       /* its initial metadata is in; never, if it sends trailers only */
    bool trailers;                      /* the block that has begun is the last */
    bool informational;                 /* the block is a 1xx */
    bool deferred;                      /* nghttp2 waits for ensi_h2_resume */
    bool ended;                         /* END_STREAM is in */
    bool closed;
    bool watched;                       /* set by the owner: tell of each read */
    bool lost;                          /* closed with the session */
    bool deaf;                          /* set by the owner: what comes is not gRPC, and is dropped */
    bool overrun, no_memory;            /* the peer sent more than its credit; no buffer could be had */
    bool granting, withheld;            /* a WINDOW_UPDATE waits to be sent; another one waits for that */
    bool moved;                         /* the buffer or the credit has changed since the last grant */
    bool lasting;                       /* set by the owner before it is sent: it may be silent for long */
    uint32_t close_code;
    char words[ENSI_H2_WORDS];          /* of a deaf stream: what its DATA begins with, plain ASCII */
};

struct ensi_h2_t {
    ensi_env_t *env;
    ensi_trace_t *trace;                /* NULL: no hook */
    nghttp2_session *session;           /* NULL: no connection */
    ensi_stream_t *streams;
    ensi_stream_t *last;                /* the one that the last DATA was for; NULL: it has left the wire */
    size_t taken;                       /* bytes of DATA that the receive call has brought */
    const uint8_t *out;                 /* what nghttp2 gave and did not fit */
    size_t out_len;
    bool held_up;                       /* set by the owner: frames wait for room in the link */
    uint8_t *to;                        /* while it is asked for frames: where they go, */
    size_t room;                        /* and how much fits there */
    uint32_t open;                      /* streams on the wire */
    uint32_t begun, lasting;            /* of them: those whose HEADERS are out; of these the lasting ones */
    size_t header_max;                  /* max_header_bytes */
    uint8_t head[ENSI_H2_HEAD];         /* the beginning of a frame header, held back until it is whole */
    size_t head_len;
    size_t left;                        /* bytes of the running frame that are still to come */
    bool receiving;                     /* nghttp2 takes in what came */
    bool oversize;                      /* a header was larger, and the session cannot go on */
    bool settled;                       /* the server's SETTINGS are in */
    uint32_t answers;                   /* streams whose headers have come: the connection is of use */
    bool draining;                      /* GOAWAY is in */
    bool leaving;                       /* our own GOAWAY is out */
    bool evicting;                      /* set by the owner: what can be opened anew elsewhere leaves it */
    bool answered;                      /* HEADERS or DATA are in; section ping takes it back */
    uint32_t ponged;                    /* the answer to the PING of this serial is in, too; 0: to none */
    bool starved;                       /* nghttp2 had no memory for a frame: the session cannot go on */
    uint32_t goaway_code;
    char goaway_text[96];
    char fault[160];                    /* why the session ended; empty: not known */
    int fault_code;                     /* HTTP/2's, as the peer was told, or nghttp2's (below 0); 0: none */
};

static void ensi_stream_touch(ensi_stream_t *s)
{
    if (s->touched) return;
    s->touched = true;
    s->touched_next = s->list->first;
    s->list->first = s;
}

static void ensi_stream_untouch(ensi_stream_t *s)
{
    ensi_stream_t **at = &s->list->first;
    if (!s->touched) return;
    while (*at != s) at = &(*at)->touched_next;
    *at = s->touched_next;
    s->touched = false;
}

/* No facts of an earlier stream. */
static void ensi_stream_clear(ensi_stream_t *s)
{
    s->moved = true;
    s->headers_sent = s->headers_done = s->initial = s->trailers = s->informational = s->ended = s->closed =
        s->lost = s->deferred = s->overrun = s->no_memory = s->deaf = s->granting = s->withheld = false;
    s->close_code = 0;
    s->words[0] = '\0';
}

/* Keeps the beginning of an answer that is not gRPC, such as a proxy's page, for an error text. The text has
 * printable ASCII, with one blank between two words. */
static void ensi_stream_overhear(ensi_stream_t *s, const uint8_t *p, size_t n)
{
    size_t at = strlen(s->words);
    for (size_t i = 0; i < n && at + 1 < sizeof s->words; i++) {
        bool blank = p[i] <= ' ' || p[i] == 0x7F;
        if (blank && (at == 0 || s->words[at - 1] == ' ')) continue;
        s->words[at++] = (char)(blank ? ' ' : p[i] < 0x7F ? p[i] : '?');
        s->words[at] = '\0';
    }
}

/* Returns the next stream that something happened to, or NULL. */
static ensi_stream_t *ensi_touched_take(ensi_touched_t *list)
{
    ensi_stream_t *s = list->first;
    if (!s) return NULL;
    list->first = s->touched_next;
    s->touched = false;
    return s;
}

/* ---- receive buffers */

static void ensi_rx_open(ensi_rx_t *r, size_t window, size_t limit, size_t spare)
{
    memset(r, 0, sizeof *r);
    r->window = window;
    r->cap = window + spare;
    r->limit = limit;
    r->spare = spare;
}

static void ensi_rx_free(ensi_rx_t *r, ensi_mem_t *m)
{
    ensi_mem_free(m, r->ptr);
    ensi_mem_free(m, r->lent_ptr);
    ensi_mem_free(m, r->idle);
    r->ptr = r->lent_ptr = r->idle = NULL;
}

/* The message behind what is lent: OK when it is whole. *total has the prefix in it, 5 until that is in. */
static inline int ensi_rx_head(const ensi_rx_t *r, size_t *total)
{
    size_t have = r->end - r->start - r->lent;
    *total = ENSI_GRPC_PREFIX;
    if (have < ENSI_GRPC_PREFIX) return ENSIGN_AGAIN;
    *total += ensi_min(ensi_get_be32(r->ptr + r->start + r->lent + 1), SIZE_MAX - ENSI_GRPC_PREFIX);
    return have >= *total ? ENSIGN_OK : ENSIGN_AGAIN;
}

/* The size of a block, for comparison; 0 of NULL. */
static size_t ensi_rx_size(const uint8_t *block)
{
    return block ? ensi_mem_size(block) : 0;
}

/* The size of a block for `cap`. Where large messages come it is rounded up, so that ever larger ones do not
 * have it taken anew each time. */
static size_t ensi_rx_round(const ensi_rx_t *r, size_t cap)
{
    size_t size = r->window + r->spare;
    if (r->recent == 0 || cap <= size) return cap;
    while (size < cap) size *= 2;
    return ensi_min(size, r->limit + r->spare);
}

/* A message of that size leaves the buffer: are large ones what comes? */
static void ensi_rx_count(ensi_rx_t *r, size_t size)
{
    if (size > r->window) {
        r->keeps = r->recent > 0;
        r->recent = ENSI_RX_RECENT;
    } else if (r->recent > 0 && --r->recent == 0) {
        r->keeps = false;
    }
}

/* Keeps the larger one of `block` and `idle`, as far as large ones are kept, and gives back the other. */
static void ensi_rx_recycle(ensi_rx_t *r, ensi_mem_t *m, uint8_t *block)
{
    size_t most = r->keeps ? SIZE_MAX : r->window + r->spare;
    uint8_t *idle = r->idle;
    if (ensi_rx_size(idle) > most) {
        ensi_mem_free(m, idle);
        r->idle = idle = NULL;
    }
    if (ensi_rx_size(block) <= most && ensi_rx_size(block) > ensi_rx_size(idle)) {
        r->idle = block;
        block = idle;
    }
    ensi_mem_free(m, block);
}

/* A block for `cap`; old: it is resized. NULL: no memory. */
static uint8_t *ensi_rx_block(const ensi_rx_t *r, ensi_mem_t *m, uint8_t *old, size_t cap)
{
    size_t size = ensi_rx_round(r, cap);
    uint8_t *p = (uint8_t *)ensi_mem_resize(m, old, size);
    return p || size == cap ? p : (uint8_t *)ensi_mem_resize(m, old, cap);
}

/* A message of that size is taken out, with nothing lent: what it was made of is not touched. */
static ENSI_UNUSED void ensi_rx_take(ensi_rx_t *r, size_t total)
{
    ENSIGN_ASSERT(r->lent == 0 && r->full == 0);
    if (total > r->window || r->recent > 0) ensi_rx_count(r, total);
    r->start += total;
    if (r->start == r->end) r->start = r->end = 0;
}

/* False: the buffer had begun anew, and has all of its room again. */
static bool ensi_rx_release(ensi_rx_t *r, ensi_mem_t *m)
{
    bool wrapped = r->full > 0;
    if (r->lent > r->window || (r->lent && r->recent > 0)) ensi_rx_count(r, r->lent);
    if (r->lent_ptr || (r->idle && !r->keeps)) ensi_rx_recycle(r, m, r->lent_ptr);
    r->lent_ptr = NULL;
    if (wrapped) r->cap = r->full;
    r->full = 0;
    r->start += r->lent;
    r->lent = 0;
    if (r->start == r->end) r->start = r->end = 0;
    return !wrapped;
}

/* Bytes that wait behind what is lent, and where they begin. */
static size_t ensi_rx_waiting(const ensi_rx_t *r)
{
    return r->end - r->start - r->lent;
}

static uint8_t *ensi_rx_at(const ensi_rx_t *r, size_t offset)
{
    return r->ptr + r->start + r->lent + offset;
}

/* Only the first `keep` of the bytes that wait are left, and what is still to come is passed over no more. */
static void ensi_rx_truncate(ensi_rx_t *r, size_t keep)
{
    r->end = r->start + r->lent + keep;
    if (r->start == r->end) r->start = r->end = 0;
    r->skip = 0;
    r->surplus = false;
}

/* Takes `len` of the bytes that wait out of their midst. */
static ENSI_UNUSED void ensi_rx_remove(ensi_rx_t *r, size_t offset, size_t len)
{
    uint8_t *at;
    if (len == 0) return;
    at = ensi_rx_at(r, offset);
    memmove(at, at + len, ensi_rx_waiting(r) - offset - len);
    r->end -= len;
}

/* Makes room for `len` bytes in the midst of those that wait, from the spare room. False: that is taken. */
static ENSI_UNUSED bool ensi_rx_insert(ensi_rx_t *r, size_t offset, size_t len)
{
    uint8_t *at = ensi_rx_at(r, offset);
    if (len > r->cap - r->end) return false;
    memmove(at + len, at, ensi_rx_waiting(r) - offset);
    r->end += len;
    return true;
}

/* So many bytes that are still to come are not stored. */
static ENSI_UNUSED void ensi_rx_skip(ensi_rx_t *r, size_t len)
{
    r->skip = len;
}

/* Writes a record of ours at `offset`, over what waits there; it may go into the spare room. False: no
 * room. */
static ENSI_UNUSED bool ensi_rx_put(ensi_rx_t *r, ensi_mem_t *m, size_t offset, const uint8_t *bytes,
                                    size_t len)
{
    if (!r->ptr) r->ptr = (uint8_t *)ensi_mem_take(m, r->cap);
    if (!r->ptr || r->start + r->lent + offset + len > r->cap) return false;
    memcpy(ensi_rx_at(r, offset), bytes, len);
    r->end = ensi_max(r->end, r->start + r->lent + offset + len);
    return true;
}

static bool ensi_rx_resize(ensi_rx_t *r, ensi_mem_t *m, size_t cap)
{
    size_t have = ensi_rx_size(r->ptr);
    if (have < cap || (!r->keeps && have > ensi_rx_round(r, cap))) {
        uint8_t *p = r->ptr ? ensi_rx_block(r, m, r->ptr, cap) : NULL;
        if (r->ptr && !p) return false;
        r->ptr = p;
    }
    r->cap = cap;
    return true;
}

/* Leaves what is lent where it stands and goes on in a second buffer. */
static bool ensi_rx_part(ensi_rx_t *r, ensi_mem_t *m, size_t need)
{
    size_t rest = r->end - r->start - r->lent;
    uint8_t *p = ensi_rx_size(r->idle) >= need ? r->idle : NULL;
    if (p || ensi_rx_size(r->idle) > r->window + r->spare) {
        if (!p) ensi_mem_free(m, r->idle); /* too small; first, as three large ones are too many */
        r->idle = NULL;
    }
    if (!p) p = ensi_rx_block(r, m, NULL, need);
    if (!p) return false;
    memcpy(p, r->ptr + r->start + r->lent, rest);
    if (r->lent) ensi_rx_count(r, r->lent);
    r->lent_ptr = r->ptr;
    r->ptr = p;
    r->cap = need;
    r->start = r->lent = r->full = 0;
    r->end = rest;
    return true;
}

/* Begins anew in front of what is lent, if what waits, is promised, and is to come has room there. */
static bool ensi_rx_wrap(ensi_rx_t *r, size_t total, size_t credit)
{
    size_t rest = r->end - r->start - r->lent, room = r->start;
    if (r->lent == 0 || room < r->cap / 2 || ensi_max(total, rest + credit) + r->spare > room) return false;
    ensi_rx_count(r, r->lent);
    memcpy(r->ptr, r->ptr + r->start + r->lent, rest);
    r->full = r->cap;
    r->cap = room;
    r->start = r->lent = 0;
    r->end = rest;
    return true;
}

/* Moves and sizes the buffer for the message that comes next; what is lent stays where it is. */
static bool ensi_rx_fit(ensi_rx_t *r, ensi_mem_t *m, size_t credit)
{
    size_t total, need;
    int whole = ensi_rx_head(r, &total);
    bool shrink;
    if (total > r->limit) total = ENSI_GRPC_PREFIX + ENSI_RX_HEAD; /* the rest will not be stored */
    need = ensi_max(total, r->window) + r->spare;
    if (r->lent || r->full) {
        if (ensi_rx_wrap(r, total, credit) || whole == ENSIGN_OK) return true;
        return r->start + r->lent + total + r->spare <= r->cap || ensi_rx_part(r, m, need);
    }
    shrink = r->cap > need && r->end - r->start + credit + r->spare <= need;
    if (r->start > 0 && (shrink || r->start >= r->cap / 2 || r->start + total + r->spare > r->cap)) {
        memmove(r->ptr, r->ptr + r->start, r->end - r->start);
        r->end -= r->start;
        r->start = 0;
    }
    if (need > r->cap) return ensi_rx_resize(r, m, need);
    /* Where that fails the block stays large, but its rest is not promised: nghttp2 could return the credit
     * of padding when it has shrunk after all. */
    if (!shrink) need = r->cap;
    if (!ensi_rx_resize(r, m, need)) r->cap = need;
    return true;
}

/* What may be promised now, on top of `credit`: all the room there is, once that is half of the buffer or the
 * message at the head cannot be completed otherwise. Less would be many small WINDOW_UPDATEs. */
static size_t ensi_rx_grant(const ensi_rx_t *r, size_t credit)
{
    size_t used = r->end + credit + r->spare, total, have = r->end - r->start - r->lent, room;
    /* Credit for what will not be stored: else a surplus, or mere padding, would block the end of the
     * stream. */
    if (r->one && ensi_rx_head(r, &total) == ENSIGN_OK)
        return credit < ENSI_RX_SURPLUS ? ENSI_RX_SURPLUS - credit : 0;
    if (used >= r->cap) return 0;
    room = r->cap - used;
    if (room >= (r->cap - r->spare) / 2) return room;
    if (ensi_rx_head(r, &total) == ENSIGN_OK) return 0;
    if (total > r->limit) total = ENSI_GRPC_PREFIX + ENSI_RX_HEAD;
    return total > have + credit ? room : 0;
}

/* Stores what came; false: there is no room, so the peer broke its window, or no memory. */
static bool ensi_rx_store(ensi_rx_t *r, ensi_mem_t *m, const uint8_t *p, size_t n)
{
    size_t total;
    size_t drop = ensi_min(r->skip, n);
    r->skip -= drop;
    p += drop;
    n -= drop;
    if (n == 0) return true;
    if (r->one && r->ptr && ensi_rx_head(r, &total) == ENSIGN_OK) r->surplus = true;
    if (r->surplus) return true;
    if (!r->ptr) r->ptr = (uint8_t *)ensi_mem_take(m, r->cap);
    if (!r->ptr || n > r->cap - r->end) return false;
    memcpy(r->ptr + r->end, p, n);
    r->end += n;
    return true;
}

/* ---- nghttp2's callbacks: facts only */

/* The largest block that nghttp2 may take at once while it receives: a name or a value that a peer announces,
 * decoded; a GOAWAY's text, which may fill a frame. */
static size_t ensi_h2_block_max(size_t header_max)
{
    return 2 * ensi_max(header_max, 8192) + 1024;
}

/* The most that a session takes, without its streams. */
static size_t ensi_h2_memory(size_t header_max)
{
    return ENSI_H2_BASE + ENSI_H2_ACKS * (ENSI_MEM_SMALL + ENSI_MEM_HEADER) +
           2 * ensi_h2_block_max(header_max);
}

static bool ensi_h2_too_large(ensi_h2_t *h, size_t size)
{
    if (!h->receiving || size <= ensi_h2_block_max(h->header_max)) return false;
    h->oversize = true;
    return true;
}

static void *ensi_h2_malloc(size_t size, void *user)
{
    ensi_h2_t *h = (ensi_h2_t *)user;
    return ensi_h2_too_large(h, size) ? NULL : ensi_mem_take(&h->env->mem, size);
}

/* nghttp2 copies each header, the token too: what it gives back is wiped. */
static void ensi_h2_free(void *p, void *user)
{
    if (p) ensi_wipe(p, ensi_mem_size(p));
    ensi_mem_free(&((ensi_h2_t *)user)->env->mem, p);
}

static void *ensi_h2_calloc(size_t count, size_t size, void *user)
{
    void *p = size != 0 && count > SIZE_MAX / size ? NULL : ensi_h2_malloc(count * size, user);
    if (p) memset(p, 0, count * size);
    return p;
}

/* The hook's own realloc is not used: it would leave a copy where the block was. */
static void *ensi_h2_realloc(void *p, size_t size, void *user)
{
    size_t old = p ? ensi_mem_size(p) : 0;
    void *larger;
    if (p && size <= old) return p;
    larger = ensi_h2_malloc(size, user);
    if (!p || !larger) return larger;
    memcpy(larger, p, old);
    ensi_h2_free(p, user);
    return larger;
}

static ensi_stream_t *ensi_h2_stream(nghttp2_session *session, int32_t id)
{
    return (ensi_stream_t *)nghttp2_session_get_stream_user_data(session, id);
}

/* A frame that nghttp2 could not queue never comes: a window stays shut, a stream is not reset. */
static void ensi_h2_check(ensi_h2_t *h, int rc)
{
    if (rc == NGHTTP2_ERR_NOMEM) h->starved = true;
}

static int ensi_h2_on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    ensi_stream_t *s = ensi_h2_stream(session, frame->hd.stream_id);
    (void)user;
    if (!s || frame->hd.type != NGHTTP2_HEADERS) return 0;
    s->informational = false;
    s->trailers = s->headers_done || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    return 0;
}

static int ensi_h2_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                             size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                             void *user)
{
    ensi_stream_t *s = ensi_h2_stream(session, frame->hd.stream_id);
    ensi_trace_t *trace = ((ensi_h2_t *)user)->trace;
    (void)flags;
    if (trace) ensi_names_add(&trace->in, ensi_slice(name, name_len));
    if (!s || frame->hd.type != NGHTTP2_HEADERS) return 0;
    if (name_len == 7 && memcmp(name, ":status", 7) == 0 && value_len == 3 && value[0] == '1')
        s->informational = true;
    if (!s->informational) s->header(s, ensi_slice(name, name_len), ensi_slice(value, value_len));
    return 0;
}

/* The stream is reset for this field. */
static int ensi_h2_refuse(ensi_h2_t *h, ensign_slice_t name)
{
    if (h->trace) ensi_names_add(&h->trace->in, name);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* nghttp2 asks before it resets a stream for a value with a NUL or another control character. A text that the
 * owner reads as bytes is taken: without it the answer's status would be lost. */
static int ensi_h2_on_invalid(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                              size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                              void *user)
{
    ensi_stream_t *s = ensi_h2_stream(session, frame->hd.stream_id);
    if (!s || !s->any_bytes || !ensi_slice_is(ensi_slice(name, name_len), s->any_bytes))
        return ensi_h2_refuse((ensi_h2_t *)user, ensi_slice(name, name_len));
    return ensi_h2_on_header(session, frame, name, name_len, value, value_len, flags, user);
}

static void ensi_h2_reason(char *out, size_t cap, const char *head, const nghttp2_goaway *g)
{
    ensi_fmt(out, cap, "%s%.*s", head, ensi_slice_show(ensi_slice(g->opaque_data, g->opaque_data_len)),
             g->opaque_data ? (const char *)g->opaque_data : "");
}

static int ensi_h2_on_goaway(ensi_h2_t *h, const nghttp2_goaway *g)
{
    h->draining = true;
    h->goaway_code = g->error_code;
    ensi_h2_reason(h->goaway_text, sizeof h->goaway_text, "", g);
    h->goaway_text[ensi_env_hide(h->env, h->goaway_text, strlen(h->goaway_text))] = '\0';
    return 0;
}

/* Why the session cannot go on, in words. */
static void ensi_h2_say(ensi_h2_t *h, const char *format, ...) ENSI_PRINTF(2, 3);
static void ensi_h2_say(ensi_h2_t *h, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ensi_fmt_v(h->fault, sizeof h->fault, format, args);
    va_end(args);
}
#ifdef ENSIGN_NO_ERROR_TEXT
#define ensi_h2_say(h, ...) \
    (ENSI_NO_WORDS(__VA_ARGS__), ensi_h2_say(h, "?"))
#endif

/* nghttp2 ends the session, and tells the peer why. */
static int ensi_h2_on_our_goaway(ensi_h2_t *h, const nghttp2_goaway *g)
{
    char head[40];
    h->leaving = true;
    h->fault_code = (int)g->error_code;
    if (g->error_code == NGHTTP2_COMPRESSION_ERROR) { /* of which nghttp2 tells no more */
        ensi_h2_say(h, "a header is over %d bytes, which nghttp2 does not take, or broken", ENSI_H2_HEADERS);
        return 0;
    }
    ensi_fmt(head, sizeof head, "%s: ", nghttp2_http2_strerror(g->error_code));
    ensi_h2_reason(h->fault, sizeof h->fault, head, g);
    return 0;
}

static int ensi_h2_on_other_frame(nghttp2_session *session, const nghttp2_frame *frame, ensi_h2_t *h)
{
    ensi_stream_t *s;
    if (frame->hd.type == NGHTTP2_GOAWAY) return ensi_h2_on_goaway(h, &frame->goaway);
    if (frame->hd.type == NGHTTP2_SETTINGS) {
        h->settled = true;
        return 0;
    }
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK))
        h->ponged = ensi_get_be32(frame->ping.opaque_data + 4);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    h->answered = true;
    s = ensi_h2_stream(session, frame->hd.stream_id);
    if (!s) return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && !s->informational) {
        if (!s->headers_done) h->answers++;
        s->headers_done = true;
        if (!s->trailers) s->initial = true;
    }
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) s->ended = true;
    s->moved = true; /* padding takes credit, too */
    ensi_stream_touch(s);
    return 0;
}

/* The bytes of DATA have touched their stream already, but for padding and the stream's end. */
static int ensi_h2_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    ensi_h2_t *h = (ensi_h2_t *)user;
    bool plain = frame->hd.type == NGHTTP2_DATA && frame->data.padlen == 0;
    if (!plain || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        return ensi_h2_on_other_frame(session, frame, h);
    h->answered = true;
    return 0;
}

/* Mostly DATA is for the stream that it was for last. */
static ensi_stream_t *ensi_h2_fed_stream(ensi_h2_t *h, nghttp2_session *session, int32_t id)
{
    if (!h->last || h->last->id != id) h->last = ensi_h2_stream(session, id);
    return h->last;
}

static int ensi_h2_on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                           void *user)
{
    ensi_h2_t *h = (ensi_h2_t *)user;
    ensi_stream_t *s = ensi_h2_fed_stream(h, session, id);
    (void)flags;
    h->taken += n;
    if (s) s->moved = true;
    if (!s || s->overrun || s->no_memory) return 0;
    if (s->deaf) {
        ensi_stream_overhear(s, p, n);
    } else if (!ensi_rx_store(&s->rx, &h->env->mem, p, n)) {
        if (s->rx.ptr) s->overrun = true;
        else s->no_memory = true;
    }
    ensi_stream_touch(s);
    return 0;
}

static int ensi_h2_on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    ensi_h2_t *h = (ensi_h2_t *)user;
    ensi_stream_t *s = ensi_h2_stream(session, frame->hd.stream_id);
    bool tell = false;
    if (frame->hd.type == NGHTTP2_GOAWAY) return ensi_h2_on_our_goaway(h, &frame->goaway);
    if (!s) return 0;
    if (frame->hd.type == NGHTTP2_HEADERS) {
        s->headers_sent = tell = true;
        h->begun++;
        h->lasting += s->lasting;
    } else if (frame->hd.type == NGHTTP2_WINDOW_UPDATE) {
        tell = s->withheld;
        s->granting = s->withheld = false;
    }
    if (tell) s->moved = true;
    if (tell) ensi_stream_touch(s);
    return 0;
}

static void ensi_h2_leave(ensi_stream_t *s, uint32_t code)
{
    ensi_h2_t *h = s->h2;
    if (h->last == s) h->last = NULL;
    if (s->before) s->before->after = s->after;
    else h->streams = s->after;
    if (s->after) s->after->before = s->before;
    s->before = s->after = NULL;
    s->h2 = NULL;
    s->id = 0;
    s->closed = true;
    s->close_code = code;
    h->open--;
    if (!s->headers_sent) return;
    h->begun--;
    h->lasting -= s->lasting;
}

static int ensi_h2_on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    ensi_stream_t *s = ensi_h2_stream(session, id);
    (void)user;
    if (!s) return 0;
    ensi_h2_leave(s, code);
    ensi_stream_touch(s);
    return 0;
}

static int ensi_h2_on_error(nghttp2_session *session, int code, const char *text, size_t len, void *user)
{
    ensi_h2_t *h = (ensi_h2_t *)user;
    (void)session;
    /* ends a stream at most, and must not stand as the reason when the session ends later */
    if (code == NGHTTP2_ERR_HTTP_HEADER || code == NGHTTP2_ERR_HTTP_MESSAGING) return 0;
    ensi_h2_say(h, "%.*s", (int)ensi_min(len, 150), text);
    return 0;
}

/* The payload of a DATA frame is written where it goes, with room for the frame's header before it. So
 * nghttp2 does not copy it. */
static ssize_t ensi_h2_on_read(nghttp2_session *session, int32_t id, uint8_t *out, size_t cap,
                               uint32_t *flags, nghttp2_data_source *source, void *user)
{
    ensi_h2_t *h = (ensi_h2_t *)user;
    ensi_stream_t *s = ensi_h2_stream(session, id);
    bool eof = false;
    size_t n;
    (void)out;
    (void)source;
    if (!s) return NGHTTP2_ERR_DEFERRED; /* reset by us: RST_STREAM waits in the queue */
    if (h->room < ENSI_H2_SCRAP) return NGHTTP2_ERR_PAUSE;
    cap = ensi_min(cap, ensi_min(ENSI_H2_FRAME_BYTES, h->room - ENSI_H2_HEAD));
    n = s->read(s, h->to + ENSI_H2_HEAD, cap, &eof);
    if (s->watched) ensi_stream_touch(s);
    if (n > 0) *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (eof) *flags |= NGHTTP2_DATA_FLAG_EOF;
    else if (n == 0) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)n;
}

/* The frame is written but for its header. nghttp2 calls this right behind the read. */
static int ensi_h2_on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                                size_t len, nghttp2_data_source *source, void *user)
{
    ensi_h2_t *h = (ensi_h2_t *)user;
    (void)session;
    (void)frame;
    (void)source;
    memcpy(h->to, head, ENSI_H2_HEAD);
    if (h->trace) ensi_trace_sent(h->trace, h->to, ENSI_H2_HEAD + len);
    h->to += ENSI_H2_HEAD + len;
    h->room -= ENSI_H2_HEAD + len;
    return 0;
}

/* For the trace hook: the names of the header fields that are about to go. */
static int ensi_h2_on_before(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    ensi_trace_t *trace = ((ensi_h2_t *)user)->trace;
    const nghttp2_headers *h = &frame->headers;
    (void)session;
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    ensi_names_clear(&trace->out);
    for (size_t i = 0; i < h->nvlen; i++)
        ensi_names_add(&trace->out, ensi_slice(h->nva[i].name, h->nva[i].namelen));
    return 0;
}

/* ---- the session */

static void ensi_h2_callbacks(nghttp2_session_callbacks *cb, bool traced)
{
    if (traced) nghttp2_session_callbacks_set_before_frame_send_callback(cb, ensi_h2_on_before);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, ensi_h2_on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, ensi_h2_on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(cb, ensi_h2_on_invalid);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, ensi_h2_on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, ensi_h2_on_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, ensi_h2_on_sent);
    nghttp2_session_callbacks_set_send_data_callback(cb, ensi_h2_on_send_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, ensi_h2_on_close);
    nghttp2_session_callbacks_set_error_callback2(cb, ensi_h2_on_error);
}

/* RFC 9113, 8.2.1, allows no blank at an end of a value, but gRPC servers send texts that have one. nghttp2
 * takes such a value up to 1.48 and, when it is told to, from 1.50 on; 1.49 resets the stream. */
static void ensi_h2_take_blanks(nghttp2_option *option)
{
#if NGHTTP2_VERSION_NUM >= 0x013200
    nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(option, 1);
#else
    (void)option;
#endif
}

static int ensi_h2_session(ensi_h2_t *h, nghttp2_session_callbacks *cb, nghttp2_option *option)
{
    nghttp2_mem mem = { h, ensi_h2_malloc, ensi_h2_free, ensi_h2_calloc, ensi_h2_realloc };
    ensi_h2_callbacks(cb, h->trace != NULL);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_outbound_ack(option, ENSI_H2_ACKS);
    ensi_h2_take_blanks(option);
    /* we count for ourselves, and wait for SETTINGS */
    nghttp2_option_set_peer_max_concurrent_streams(option, INT32_MAX);
    return nghttp2_session_client_new3(&h->session, cb, h, option, &mem);
}

static int ensi_h2_hello(ensi_h2_t *h, uint32_t connection_window)
{
    const nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0 },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)h->header_max },
    };
    int rc = nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, ENSI_COUNT(settings));
    if (rc == 0 && connection_window > ENSI_H2_WINDOW)
        rc = nghttp2_submit_window_update(h->session, NGHTTP2_FLAG_NONE, 0,
                                          (int32_t)(connection_window - ENSI_H2_WINDOW));
    return rc;
}

static int ensi_h2_start(ensi_h2_t *h, uint32_t connection_window)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *option = NULL;
    int rc = nghttp2_session_callbacks_new(&cb);
    if (rc == 0) rc = nghttp2_option_new(&option);
    if (rc == 0) rc = ensi_h2_session(h, cb, option);
    if (rc == 0) rc = ensi_h2_hello(h, connection_window);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cb);
    ensi_mem_prime(&h->env->mem, ENSI_MEM_PRIME);
    h->settled = h->draining = h->leaving = h->evicting = h->answered = h->starved = h->oversize = false;
    h->ponged = h->answers = 0;
    h->goaway_code = NGHTTP2_NO_ERROR;
    h->fault_code = 0;
    h->fault[0] = h->goaway_text[0] = '\0';
    h->out_len = h->head_len = h->left = 0;
    if (h->trace) ensi_trace_clear(h->trace);
    return rc == 0 ? ENSIGN_OK : ENSIGN_E_MEMORY;
}

/* Ends the session; each stream that was on the wire is closed and touched. */
static void ensi_h2_stop(ensi_h2_t *h)
{
    if (!h->session) return;
    nghttp2_session_del(h->session);
    h->session = NULL;
    h->out_len = 0;
    h->settled = h->draining = h->leaving = h->evicting = h->starved = false;
    while (h->streams) {
        ensi_stream_t *s = h->streams;
        ensi_h2_leave(s, NGHTTP2_NO_ERROR);
        s->lost = true;
        ensi_stream_touch(s);
    }
}

/* Asks the peer for a sign of life (RFC 9113 6.7). The PING goes before all that waits, RST_STREAM too. The
 * answer brings `serial` back, as `ponged`. */
static void ensi_h2_ping(ensi_h2_t *h, uint32_t serial)
{
    uint8_t data[8];
    ensi_put_be64(data, serial);
    ensi_h2_check(h, nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, data));
}

/* Tells the peer that we go (RFC 9113 6.8), in the bytes that are sent next; nothing is sent after it. */
static void ensi_h2_bye(ensi_h2_t *h)
{
    if (h->session) ensi_h2_check(h, nghttp2_session_terminate_session(h->session, NGHTTP2_NO_ERROR));
}

/* Walks over the frames that [p, p + n) has. Returns how many of the bytes come before a frame header that is
 * not whole yet. */
static size_t ensi_h2_walk(ensi_h2_t *h, const uint8_t *p, size_t n)
{
    size_t at = 0;
    for (;;) {
        size_t body = ensi_min(h->left, n - at);
        h->left -= body;
        at += body;
        if (n - at < ENSI_H2_HEAD) return at;
        h->left = ensi_get_be32(p + at) >> 8;
        at += ENSI_H2_HEAD;
    }
}

static int ensi_h2_take(ensi_h2_t *h, const uint8_t *p, size_t n)
{
    ssize_t rc;
    h->receiving = true;
    rc = nghttp2_session_mem_recv(h->session, p, n);
    h->receiving = false;
    /* the connection's credit goes back whether or not a stream is read, once for all of these bytes */
    if (h->taken > 0 && rc >= 0) ensi_h2_check(h, nghttp2_session_consume_connection(h->session, h->taken));
    h->taken = 0;
    if (h->starved) rc = NGHTTP2_ERR_NOMEM;
    if (rc >= 0) return ENSIGN_OK;
    if (h->oversize)
        ensi_h2_say(h, "it sends a header of over %lu bytes; raise max_header_bytes",
                    (unsigned long)h->header_max);
    if (rc == ENSI_H2_TOO_MANY_FRAMES)
        ensi_h2_say(h, "headers in more than 8 CONTINUATION frames, nghttp2's limit");
    if (h->fault[0] == '\0') ensi_h2_say(h, "%s", nghttp2_strerror((int)rc));
    if (h->fault_code == 0) h->fault_code = (int)rc;
    if (h->oversize) return ENSIGN_E_TOO_LARGE;
    return rc == NGHTTP2_ERR_NOMEM ? ENSIGN_E_MEMORY : ENSIGN_E_PROTOCOL;
}

/* Gives nghttp2 what came. A frame header goes in whole, in however many pieces it came: nghttp2 counts the
 * header of a CONTINUATION once for each piece, and ends the session at the ninth. */
static int ensi_h2_feed(ensi_h2_t *h, const uint8_t *p, size_t n)
{
    size_t whole;
    if (h->head_len > 0) {
        size_t more = ensi_min(ENSI_H2_HEAD - h->head_len, n);
        memcpy(h->head + h->head_len, p, more);
        h->head_len += more;
        p += more;
        n -= more;
        if (h->head_len == ENSI_H2_HEAD) {
            int rc = ensi_h2_take(h, h->head, ensi_h2_walk(h, h->head, ENSI_H2_HEAD));
            h->head_len = 0;
            if (rc != ENSIGN_OK) return rc;
        }
    }
    whole = ensi_h2_walk(h, p, n);
    if (n > whole) memcpy(h->head + h->head_len, p + whole, n - whole);
    h->head_len += n - whole;
    return whole > 0 ? ensi_h2_take(h, p, whole) : ENSIGN_OK;
}

/* Bytes have come. Where there is a trace hook nghttp2 gets them frame by frame, and each is told when
 * nghttp2 has looked at it; so is the one that ends the session. */
static int ensi_h2_receive(ensi_h2_t *h, const uint8_t *p, size_t n)
{
    int rc = ENSIGN_OK;
    if (!h->trace) return ensi_h2_feed(h, p, n);
    while (n > 0 && rc == ENSIGN_OK) {
        bool whole;
        size_t piece = ensi_trace_come(h->trace, p, n, &whole);
        rc = ensi_h2_feed(h, p, piece);
        if (whole || rc != ENSIGN_OK) ensi_trace_came(h->trace);
        p += piece;
        n -= piece;
    }
    return rc;
}

/* Writes up to cap bytes that are to be sent. DATA comes only while ENSI_H2_SCRAP bytes are left. < 0: the
 * session is dead. */
static int ensi_h2_send(ensi_h2_t *h, uint8_t *out, size_t cap, size_t *len)
{
    *len = 0;
    if (h->starved) return ENSIGN_E_MEMORY;
    h->to = out;
    h->room = cap;
    while (h->room > 0) {
        size_t n;
        if (h->out_len == 0) {
            ssize_t got = nghttp2_session_mem_send(h->session, &h->out);
            if (got == 0) break;
            if (got < 0) { /* what was written goes nowhere, and may have the token in it */
                ensi_wipe(out, cap - h->room);
                return got == NGHTTP2_ERR_NOMEM ? ENSIGN_E_MEMORY : ENSIGN_E_PROTOCOL;
            }
            h->out_len = (size_t)got;
            if (h->trace) ensi_trace_sent(h->trace, h->out, h->out_len);
        }
        n = ensi_min(h->room, h->out_len);
        memcpy(h->to, h->out, n);
        h->to += n;
        h->room -= n;
        h->out += n;
        h->out_len -= n;
    }
    *len = cap - h->room;
    return ENSIGN_OK;
}

/* Only a GOAWAY ends a session, so nghttp2 is asked only after one. */
static bool ensi_h2_alive(const ensi_h2_t *h)
{
    if (!h->session) return false;
    if (!h->draining && !h->leaving) return true;
    return nghttp2_session_want_read(h->session) || nghttp2_session_want_write(h->session) || h->out_len > 0;
}

/* Is there anything to hand to the link? */
static bool ensi_h2_wants_write(const ensi_h2_t *h)
{
    return h->session && (h->starved || h->out_len > 0 || nghttp2_session_want_write(h->session));
}

static bool ensi_h2_can_open(const ensi_h2_t *h)
{
    return h->session && h->settled && !h->draining &&
           h->open < nghttp2_session_get_remote_settings(h->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

static int ensi_h2_submit(ensi_h2_t *h, ensi_stream_t *s, const nghttp2_nv *headers, size_t count)
{
    nghttp2_data_provider body;
    int32_t id;
    body.source.ptr = NULL; /* found by the stream's id, so that a reset stream is not found */
    body.read_callback = ensi_h2_on_read;
    id = nghttp2_submit_request(h->session, NULL, headers, count, &body, s);
    /* 2^30 streams: the next connection begins anew */
    if (id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE && !h->draining) {
        h->draining = true;
        ensi_fmt(h->goaway_text, sizeof h->goaway_text, "its stream ids are used up");
    }
    if (id < 0) return id == NGHTTP2_ERR_NOMEM ? ENSIGN_E_MEMORY : ENSIGN_AGAIN;
    s->id = id;
    s->h2 = s->carrier = h;
    ensi_stream_clear(s);
    s->before = NULL;
    s->after = h->streams;
    if (s->after) s->after->before = s;
    h->streams = s;
    h->open++;
    return ENSIGN_OK;
}

static void ensi_h2_resume(ensi_stream_t *s)
{
    if (!s->deferred || !s->h2) return;
    s->deferred = false;
    ensi_h2_check(s->h2, nghttp2_session_resume_data(s->h2->session, s->id));
}

/* Resets the stream and forgets it: no callback finds it any more. */
static void ensi_h2_reset(ensi_stream_t *s, uint32_t code)
{
    nghttp2_session *session = s->h2 ? s->h2->session : NULL;
    if (!session) return;
    nghttp2_session_set_stream_user_data(session, s->id, NULL);
    ensi_h2_check(s->h2, nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, s->id, code));
    ensi_h2_leave(s, code);
}

/* The server wants the connection of this stream to end (GOAWAY): nothing new is begun on it. */
static ENSI_UNUSED bool ensi_h2_drains(const ensi_stream_t *s)
{
    return s->h2 && s->h2->draining;
}

/* The time has come to leave it, for a stream that has no end of its own. */
static ENSI_UNUSED bool ensi_h2_leaves(const ensi_stream_t *s)
{
    return s->h2 && s->h2->evicting;
}

static void ensi_h2_touch_all(const ensi_h2_t *h)
{
    for (ensi_stream_t *s = h->streams; s; s = s->after) ensi_stream_touch(s);
}

/* Is more to come on this stream, and has nghttp2 its ledger? */
static bool ensi_h2_fed(const ensi_stream_t *s)
{
    return s->h2 && s->headers_sent && !s->ended;
}

/* Bytes that the peer may still send on this stream. Until our SETTINGS are acknowledged nghttp2 counts from
 * 65,535 instead of 0. */
static size_t ensi_h2_credit(const ensi_stream_t *s)
{
    nghttp2_session *session;
    int64_t window, used, initial;
    if (!ensi_h2_fed(s)) return 0;
    session = s->h2->session;
    window = nghttp2_session_get_stream_effective_local_window_size(session, s->id);
    used = nghttp2_session_get_stream_effective_recv_data_length(session, s->id);
    initial = nghttp2_session_get_local_settings(session, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
    return window - used - initial > 0 ? (size_t)(window - used - initial) : 0;
}

/* What is always true of a stream; for assertions. */
static ENSI_UNUSED bool ensi_h2_holds(const ensi_stream_t *s)
{
    const ensi_rx_t *x = &s->rx;
    return (s->h2 != NULL) == (s->id != 0) && x->start + x->lent <= x->end && x->end <= x->cap &&
           (!x->lent_ptr || x->ptr) && (!s->withheld || s->granting);
}

/* Before a message is lent, nothing is: the moment for a large buffer to shrink. Without memory for the next
 * message all stays as it is, and the grant that follows tells. */
static void ensi_h2_shrink(ensi_stream_t *s, ensi_mem_t *m)
{
    if (s->rx.cap > s->rx.window + s->rx.spare) ensi_rx_fit(&s->rx, m, ensi_h2_credit(s));
}

/* Does a whole message wait behind what is lent? */
static ENSI_UNUSED bool ensi_h2_has_message(const ensi_stream_t *s)
{
    size_t total;
    return ensi_rx_head(&s->rx, &total) == ENSIGN_OK;
}

/* Is half of the buffer free in front of what waits? */
static ENSI_UNUSED bool ensi_h2_half_free(const ensi_stream_t *s)
{
    return s->rx.start + s->rx.lent >= s->rx.cap / 2;
}

/* Fits the buffer and gives the peer what credit it may have. False: no memory. One WINDOW_UPDATE at a time,
 * so that a peer that sends but does not read cannot make the queue of frames grow. */
static bool ensi_h2_grant(ensi_stream_t *s, ensi_mem_t *m)
{
    size_t credit, more;
    if (!s->moved) return true;
    credit = ensi_h2_credit(s);
    if (!ensi_rx_fit(&s->rx, m, credit)) return false;
    s->moved = false;
    more = ensi_h2_fed(s) ? ensi_rx_grant(&s->rx, credit) : 0;
    if (more == 0) return true;
    s->withheld = s->granting;
    if (s->granting) return true;
    if (nghttp2_submit_window_update(s->h2->session, NGHTTP2_FLAG_NONE, s->id, (int32_t)more) != 0) {
        s->moved = true;
        return false;
    }
    s->granting = true;
    ensi_env_work(s->h2->env);
    return true;
}

/* >>grpc   may call: util mem env json http1 h2
 *          open to: state ping reopen call query ask pub catchup sub req client create
 * Calls: request headers, message prefix, metadata, deadlines, status
 *
 * Owns   each call's send buffer, metadata, deadline and ending; the queue of calls that wait for a
 *        connection, a token or a slot.
 * Holds  a call in OPEN is on the wire; in QUEUED it is in the queue, in the order of asking; in BACKOFF it
 *        looks as if it was never sent, until its owner queues it again; `state` is assigned by
 *        ensi_grpc_move alone.
 *        out: [0, sent) is handed over and kept while the call can still be sent again; [sent, end) waits.
 *        Messages leave the receive buffer in order; a bad one is found when it becomes the next.
 * Moves  queue -> submit -> end; from the end back to the queue where a stream is reopened, and by way of the
 *        backoff where a public call is tried again; from the wire back to the queue, once, for a call that
 *        the server surely did not process.
 * Fails  a peer's fault ends the call with a status by the tables of the gRPC specification ("gRPC over
 *        HTTP/2", "HTTP to gRPC Status Code Mapping"). */
typedef enum {
    ENSI_GRPC_NEW,
    ENSI_GRPC_QUEUED,
    ENSI_GRPC_OPEN,
    ENSI_GRPC_ENDED,
    ENSI_GRPC_BACKOFF,
    ENSI_GRPC_STATES
} ensi_grpc_state_t;
typedef enum {
    ENSI_GRPC_ON_QUEUE,
    ENSI_GRPC_ON_SUBMIT,
    ENSI_GRPC_ON_RETRY,
    ENSI_GRPC_ON_END,
    ENSI_GRPC_ON_PAUSE,
    ENSI_GRPC_INPUTS
} ensi_grpc_in_t;

static const ensi_move_t ensi_grpc_moves[] = {
    { ENSI_GRPC_NEW,    ENSI_GRPC_ON_QUEUE,  ENSI_GRPC_QUEUED },
    { ENSI_GRPC_QUEUED, ENSI_GRPC_ON_SUBMIT, ENSI_GRPC_OPEN   },
    { ENSI_GRPC_QUEUED, ENSI_GRPC_ON_END,    ENSI_GRPC_ENDED  },
    { ENSI_GRPC_OPEN,   ENSI_GRPC_ON_RETRY,  ENSI_GRPC_QUEUED }, /* the server did not process it */
    { ENSI_GRPC_OPEN,   ENSI_GRPC_ON_END,    ENSI_GRPC_ENDED  },
    /* a stream that is reopened under the same handle */
    { ENSI_GRPC_ENDED,  ENSI_GRPC_ON_QUEUE,  ENSI_GRPC_QUEUED },
    /* another attempt of a public call */
    { ENSI_GRPC_ENDED,   ENSI_GRPC_ON_PAUSE, ENSI_GRPC_BACKOFF },
    { ENSI_GRPC_BACKOFF, ENSI_GRPC_ON_QUEUE, ENSI_GRPC_QUEUED  },
    { ENSI_GRPC_BACKOFF, ENSI_GRPC_ON_END,   ENSI_GRPC_ENDED   },
};

/* The largest message that a server takes, unless it was told otherwise: gRPC's own default. */
enum { ENSI_SERVER_MESSAGE_MAX = 4 * 1024 * 1024 };
/* Of a window, of a message: far from where 32 bits would wrap. */
enum { ENSI_GRPC_BYTES_MAX = 1 << 30 };
enum { ENSI_GRPC_META = 8 * 1024 };    /* of received metadata, unless a desc says more */
enum { ENSI_GRPC_MAX_HEADERS = 128, ENSI_GRPC_FIXED_HEADERS = 12, ENSI_GRPC_COMPRESSED_FLAG = 1 };

/* The headers of an answer, or its trailers: records of {flag, key length, value length, key, NUL, value},
 * never moved while the call lives. The flag is 0 for what is not the caller's to see. What is over the limit
 * is dropped, but for a text, which has some room of its own and is cut. */
typedef struct ensi_meta_t {
    uint8_t *ptr;
    size_t limit, len;
    size_t counted;                     /* as RFC 9113 6.5.2 counts a header list */
    bool cut;                           /* something was dropped, or shortened */
} ensi_meta_t;
enum { ENSI_META_RECORD = 9, ENSI_META_OVERHEAD = 32, ENSI_META_TEXT = 512 };

/* What all calls of a client share: those that wait, in the order of asking, and those to be looked at; and
 * what failed attempts have taken of its tokens. */
typedef struct ensi_calls_t {
    ensi_call_t *head, *tail;
    uint64_t orders;
    bool fresh;                         /* a call was queued since they were gone through */
    ensi_touched_t touched;
    uint32_t spent;                     /* in tenths of a token, 0..100 */
} ensi_calls_t;

struct ensi_call_t {
    ensi_stream_t s;                    /* first: a stream is its call */
    ensi_env_t *env;
    ensi_calls_t *all;
    ensi_handle_t *owner;
    ensi_grpc_state_t state;
    ensi_call_t *queue_next, *queue_prev;
    uint64_t order;                     /* of asking */
    /* request */
    char *method;
    char *extra;                        /* the caller's metadata: key, NUL, 4 bytes of length, value */
    size_t extra_count;
    const char *encoding, *accept_encoding;     /* in `method`'s block */
    bool no_token, own_token, unary, wait_for_ready;
    uint64_t token;                     /* of the client, that went out with it, by stats.tokens; 0: none */
    size_t max_send;
    const char *limit_name;
    ensi_timer_t deadline;
    /* send */
    ensi_buf_t out;                     /* start: unused, 0 */
    size_t sent, out_min, reserved;
    size_t room_wanted;                 /* what was refused with AGAIN; 0: nothing */
    bool half_closed, kept;             /* kept: [0, sent) is still what was sent first */
    size_t (*more)(ensi_call_t *call, uint8_t *out, size_t cap);   /* goes on where `out` ends */
    /* answer */
    ensi_meta_t meta[2];                /* headers, trailers: ENSIGN_HEADERS - 1, ENSIGN_TRAILERS - 1 */
    bool shows_metadata;                /* to the caller; else the text and the details are kept alone */
    int http_status, grpc_status;       /* -1: not there */
    bool grpc_content, encoded;         /* content-type is gRPC's; grpc-encoding is one that was accepted */
    ensign_slice_t text, details;       /* in meta */
    int64_t pushback_ms;                /* -1: none came, or one that forbids another attempt */
    bool forbidden;                     /* the server forbade another attempt */
    uint64_t messages;                  /* taken from the buffer */
    /* ending */
    int end_status;
    bool from_server, unprocessed, retried, drop;       /* drop: what is queued is not given any more */
    bool refused;                       /* the server has refused a token for this request before */
    ensign_error_t fault;
    /* attempts of a public call */
    uint32_t attempts;                  /* begun so far; 0: of a call that is not public */
    bool tried;                         /* the server may have acted on one before that */
    ensi_timer_t again;                 /* BACKOFF: to the next one */
};

static bool ensi_grpc_move(ensi_call_t *call, ensi_grpc_in_t in)
{
    int to = ensi_move(ensi_grpc_moves, ENSI_COUNT(ensi_grpc_moves), (int)call->state, (int)in);
    if (to < 0) return false;
    call->state = (ensi_grpc_state_t)to;
    return true;
}

/* ---- tables of the specification */

static const char *ensi_grpc_status_name(int status)
{
    static const char *const names[] = {
        "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
        "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
        "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
        "DATA_LOSS", "UNAUTHENTICATED"
    };
    return status >= 0 && status < (int)ENSI_COUNT(names) ? names[status] : "UNKNOWN";
}

/* "HTTP to gRPC Status Code Mapping" */
static int ensi_grpc_of_http(int http)
{
    switch (http) {
    case 400: return ENSIGN_GRPC_INTERNAL;
    case 401: return ENSIGN_GRPC_UNAUTHENTICATED;
    case 403: return ENSIGN_GRPC_PERMISSION_DENIED;
    case 404: return ENSIGN_GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504: return ENSIGN_GRPC_UNAVAILABLE;
    default: return ENSIGN_GRPC_UNKNOWN;
    }
}

/* gRPC servers answer 200: this is a proxy's word, or another server's. */
static const char *ensi_grpc_http_advice(int http)
{
    switch (http) {
    case 401:
    case 403: return "a proxy or gateway in between refuses this client: ask who runs it";
    case 404: return "another server answers here, or one without this service: is the endpoint right?";
    case 429:
    case 502:
    case 503:
    case 504: return "a proxy in between cannot reach the server now";
    default: return "a gRPC server answers 200: is this the right endpoint?";
    }
}

/* "gRPC over HTTP2", section Errors */
static int ensi_grpc_of_reset(uint32_t code)
{
    switch (code) {
    case NGHTTP2_REFUSED_STREAM: return ENSIGN_GRPC_UNAVAILABLE;
    case NGHTTP2_CANCEL: return ENSIGN_GRPC_CANCELLED;
    case NGHTTP2_ENHANCE_YOUR_CALM: return ENSIGN_GRPC_RESOURCE_EXHAUSTED;
    case NGHTTP2_INADEQUATE_SECURITY: return ENSIGN_GRPC_PERMISSION_DENIED;
    case NGHTTP2_STREAM_CLOSED:
    case NGHTTP2_HTTP_1_1_REQUIRED: return ENSIGN_GRPC_UNKNOWN;
    default: return ENSIGN_GRPC_INTERNAL;
    }
}

/* grpc-message is percent-encoded; what is malformed is kept as it is. In place; returns the length. */
static size_t ensi_grpc_unescape(uint8_t *p, size_t len)
{
    size_t to = 0;
    for (size_t i = 0; i < len; i++) {
        int high = p[i] == '%' && i + 2 < len ? ensi_hex(p[i + 1]) : -1;
        int low = high >= 0 ? ensi_hex(p[i + 2]) : -1;
        if (low >= 0) {
            p[to++] = (uint8_t)(high * 16 + low);
            i += 2;
        } else {
            p[to++] = p[i];
        }
    }
    return to;
}

/* A whole number of up to 18 digits, maybe with a sign. */
static bool ensi_grpc_number(ensign_slice_t v, int64_t *out)
{
    size_t i = v.len > 0 && v.ptr[0] == '-' ? 1 : 0;
    int64_t n = 0;
    if (v.len == i || v.len - i > 18) return false;
    for (size_t at = i; at < v.len; at++) {
        if (v.ptr[at] < '0' || v.ptr[at] > '9') return false;
        n = n * 10 + (v.ptr[at] - '0');
    }
    *out = i ? -n : n;
    return true;
}

/* ---- received metadata */

/* Wipes it: a server may repeat a token here, or give one. */
static void ensi_meta_clear(ensi_meta_t *m)
{
    if (m->len) ensi_wipe(m->ptr, m->len);
    m->len = m->counted = 0;
    m->cut = false;
}

/* The most that the headers, or the trailers, of a call take. */
static size_t ensi_meta_bound(size_t limit)
{
    return limit + ENSI_META_TEXT + ENSI_MEM_HEADER;
}

/* The buffer is taken when something is kept first. False: no memory. */
static bool ensi_meta_open(ensi_meta_t *m, ensi_mem_t *mem)
{
    if (!m->ptr) m->ptr = (uint8_t *)ensi_mem_take(mem, m->limit + ENSI_META_TEXT);
    return m->ptr != NULL;
}

/* How long a value of this key may be; SIZE_MAX: not even an empty one fits. */
static size_t ensi_meta_room(const ensi_meta_t *m, ensign_slice_t key, size_t limit)
{
    size_t need = m->len + ENSI_META_RECORD + key.len + 1;
    return need <= limit ? limit - need : SIZE_MAX;
}

/* Room for a record; NULL: it would go over the limit, which is remembered. */
static uint8_t *ensi_meta_record(ensi_meta_t *m, bool seen, ensign_slice_t key, size_t value_len,
                                 size_t limit)
{
    size_t room = ensi_meta_room(m, key, limit);
    uint8_t *p;
    if (room == SIZE_MAX || value_len > room) {
        m->cut = true;
        return NULL;
    }
    p = m->ptr + m->len;
    p[0] = seen;
    ensi_put_be32(p + 1, (uint32_t)key.len);
    ensi_put_be32(p + 5, (uint32_t)value_len);
    memcpy(p + ENSI_META_RECORD, key.ptr, key.len);
    p[ENSI_META_RECORD + key.len] = '\0';
    m->len += ENSI_META_RECORD + key.len + 1 + value_len;
    return p + ENSI_META_RECORD + key.len + 1;
}

/* One value of a -bin header, decoded. What is not base64 is left out. */
static void ensi_meta_binary(ensi_meta_t *m, bool seen, ensign_slice_t key, ensign_slice_t value)
{
    size_t before = m->len, len = 0;
    uint8_t *p;
    value = ensi_slice_trim(value);
    p = ensi_meta_record(m, seen, key, value.len / 4 * 3 + 3, m->limit);
    if (!p) return;
    m->len = before;
    if (ensi_base64_decode((const char *)value.ptr, value.len, false, p, value.len / 4 * 3 + 3, &len) !=
        ENSIGN_OK)
        return;
    ensi_put_be32(m->ptr + before + 5, (uint32_t)len);
    m->len = before + ENSI_META_RECORD + key.len + 1 + len;
}

/* Values of such a key are bytes, and travel as base64. */
static bool ensi_meta_is_binary(ensign_slice_t key)
{
    return key.len > 4 && memcmp(key.ptr + key.len - 4, "-bin", 4) == 0;
}

/* Keeps an entry, if all that came so far is within the limit. */
static void ensi_meta_add(ensi_meta_t *m, bool seen, ensign_slice_t key, ensign_slice_t value)
{
    uint8_t *p;
    if (m->counted > m->limit) {
        m->cut = true;
        return;
    }
    while (ensi_meta_is_binary(key)) { /* a list, split at commas */
        const uint8_t *comma = value.len ? (const uint8_t *)memchr(value.ptr, ',', value.len) : NULL;
        size_t len = comma ? (size_t)(comma - value.ptr) : value.len;
        ensi_meta_binary(m, seen, key, ensi_slice(value.ptr, len));
        if (!comma) return;
        value = ensi_slice(comma + 1, value.len - len - 1);
    }
    p = ensi_meta_record(m, seen, key, value.len, m->limit);
    if (p && value.len) memcpy(p, value.ptr, value.len);
}

/* Keeps a percent-encoded text, decoded where it lies; where it is too long, its beginning. */
static ensign_slice_t ensi_meta_text(ensi_meta_t *m, ensign_slice_t key, ensign_slice_t value)
{
    size_t limit = m->limit + ENSI_META_TEXT, room = ensi_meta_room(m, key, limit);
    uint8_t *p;
    if (value.len > room) {
        value.len = room;
        for (size_t i = 1; i < 3 && i <= room; i++) /* no escape is cut in two */
            if (value.ptr[room - i] == '%') value.len = room - i;
        m->cut = true;
    }
    p = ensi_meta_record(m, false, key, value.len, limit);
    if (!p) return ensi_slice(NULL, 0);
    if (value.len) memcpy(p, value.ptr, value.len);
    return ensi_slice(p, ensi_grpc_unescape(p, value.len));
}

static bool ensi_meta_next(const ensi_meta_t *m, bool seen, size_t *at, ensign_slice_t *key,
                           ensign_slice_t *value)
{
    while (*at < m->len) {
        const uint8_t *p = m->ptr + *at;
        size_t key_len = ensi_get_be32(p + 1), value_len = ensi_get_be32(p + 5);
        *at += ENSI_META_RECORD + key_len + 1 + value_len;
        if (p[0] != seen) continue;
        *key = ensi_slice(p + ENSI_META_RECORD, key_len);
        *value = ensi_slice(p + ENSI_META_RECORD + key_len + 1, value_len);
        return true;
    }
    return false;
}

/* Is it a compression that the call accepts? "identity" is the name of none. */
static bool ensi_grpc_accepts(const ensi_call_t *call, ensign_slice_t encoding)
{
    ensign_slice_t list = ensign_str(call->accept_encoding), item;
    if (ensi_slice_is(encoding, "identity")) return false;
    while (ensi_http1_item(&list, &item))
        if (ensi_slice_eq(item, encoding)) return true;
    return false;
}

/* Headers that are the protocol's; true: it was one, and is not the caller's to see. */
static bool ensi_grpc_own_header(ensi_call_t *call, ensign_slice_t name, ensign_slice_t value)
{
    int64_t number = 0;
    if (ensi_slice_is(name, ":status")) {
        call->http_status = ensi_grpc_number(value, &number) ? (int)number : -1;
    } else if (ensi_slice_is(name, "content-type")) {
        static const char type[] = "application/grpc";
        size_t n = sizeof type - 1;
        call->grpc_content = value.len >= n && memcmp(value.ptr, type, n) == 0 &&
                          (value.len == n || value.ptr[n] == '+' || value.ptr[n] == ';');
        return false;
    } else if (ensi_slice_is(name, "grpc-status")) {
        bool known = ensi_grpc_number(value, &number) && number >= 0 && number <= ENSIGN_GRPC_UNAUTHENTICATED;
        if (call->s.trailers) call->grpc_status = known ? (int)number : ENSIGN_GRPC_UNKNOWN;
    } else if (ensi_slice_is(name, "grpc-encoding")) {
        call->encoded = ensi_grpc_accepts(call, value);
        return false;
    } else if (ensi_slice_is(name, "grpc-retry-pushback-ms")) {
        call->forbidden = !ensi_grpc_number(value, &number) || number < 0;
        call->pushback_ms = call->forbidden ? -1 : number;
    } else {
        return false;
    }
    return true;
}

/* Hides in a server's text the token that it may repeat: the client's, or the caller's own. */
static ensign_slice_t ensi_grpc_hide(const ensi_call_t *call, char *text, size_t len)
{
    enum { OWN = 4 }; /* more than one is hardly ever sent */
    ensign_slice_t secrets[(int)ENSI_SECRETS + (int)OWN];
    size_t count = ensi_env_secrets(call->env, secrets);
    const char *p = call->extra;
    for (size_t i = 0; i < call->extra_count && count < ENSI_COUNT(secrets); i++) {
        ensign_slice_t key = ensign_str(p), value;
        p += key.len + 1;
        value = ensi_slice(p + 4, ensi_get_be32((const uint8_t *)p));
        p += 4 + value.len;
        if (!ensi_slice_is(key, "authorization")) continue;
        while (memchr(value.ptr, ' ', value.len)) /* without the scheme */
            value = ensi_slice(value.ptr + 1, value.len - 1);
        secrets[count++] = value;
    }
    return ensi_slice(text, ensi_hide(text, len, secrets, count));
}

/* Keeps of the metadata the text, the details, and for a public call what the server's program sent. */
static void ensi_grpc_keep(ensi_call_t *call, ensi_meta_t *m, ensign_slice_t name, ensign_slice_t value)
{
    bool words = ensi_slice_is(name, "grpc-message");
    bool details = ensi_slice_is(name, "grpc-status-details-bin");
    if (!words && !details && (!call->shows_metadata || name.len == 0 || name.ptr[0] == ':')) return;
    if (!ensi_meta_open(m, &call->env->mem)) {
        call->s.no_memory = true;
    } else if (words) {
        ensign_slice_t text = ensi_meta_text(m, name, value);
        if (text.ptr) call->text = ensi_grpc_hide(call, (char *)(uintptr_t)text.ptr, text.len);
    } else {
        size_t at = m->len;
        ensi_meta_add(m, !details, name, value);
        if (details) ensi_meta_next(m, false, &at, &name, &call->details);
    }
}

static void ensi_grpc_on_header(ensi_stream_t *s, ensign_slice_t name, ensign_slice_t value)
{
    ensi_call_t *call = (ensi_call_t *)(void *)s;
    ensi_meta_t *m = &call->meta[s->trailers];
    bool own = ensi_grpc_own_header(call, name, value);

    if (!s->headers_done)
        s->deaf = call->http_status != 200 || !call->grpc_content; /* trailers change nothing */
    m->counted += name.len + value.len + ENSI_META_OVERHEAD;
    if (!own && !s->no_memory) ensi_grpc_keep(call, m, name, value);
}

/* Was more metadata sent than there is room for? */
static bool ensi_grpc_is_cut(const ensi_call_t *call)
{
    return call->meta[0].cut || call->meta[1].cut;
}

/* ---- sending */

/* nghttp2 asks for bytes: first what lies in `out`, then what the owner makes. */
static size_t ensi_grpc_on_read(ensi_stream_t *s, uint8_t *out, size_t cap, bool *eof)
{
    ensi_call_t *call = (ensi_call_t *)(void *)s;
    size_t n = ensi_min(cap, call->out.end - call->sent);
    if (n) memcpy(out, call->out.ptr + call->sent, n);
    call->sent += n;
    *eof = call->half_closed && call->sent == call->out.end;
    if (!*eof && call->more && n < cap) n += call->more(call, out + n, cap - n);
    return n;
}

/* Makes room for `size` bytes at out.end. OK, AGAIN, E_MEMORY; nothing that waits is lost. */
static int ensi_grpc_make_room(ensi_call_t *call, size_t size)
{
    ensi_buf_t *b = &call->out;
    size_t waiting = b->end - call->sent, need = call->unary ? size : ensi_max(size, call->out_min);
    uint8_t *p = b->ptr;

    if (size <= b->cap - b->end && (b->cap <= call->out_min || waiting)) return ENSIGN_OK;
    if (waiting && waiting + size > b->cap) return ENSIGN_AGAIN;
    if (!waiting && b->cap != need) { /* empty: the usual size, or more for one large message */
        p = (uint8_t *)ensi_mem_resize(&call->env->mem, b->ptr, need);
        if (!p) return ENSIGN_E_MEMORY;
        b->ptr = p;
        b->cap = need;
    }
    if (call->sent > 0) call->kept = false;
    if (waiting) memmove(p, p + call->sent, waiting);
    b->end = waiting;
    call->sent = 0;
    return ENSIGN_OK;
}

/* Where the next message goes, behind its prefix. */
static uint8_t *ensi_grpc_space(const ensi_call_t *call)
{
    return call->out.ptr + call->out.end + ENSI_GRPC_PREFIX;
}

/* Space for a message of up to len bytes behind its prefix. */
static int ensi_grpc_reserve(ensi_call_t *call, size_t len, uint8_t **out)
{
    int rc = ensi_grpc_make_room(call, len + ENSI_GRPC_PREFIX);
    if (rc != ENSIGN_OK) return rc;
    *out = ensi_grpc_space(call);
    call->reserved = len + 1;
    return ENSIGN_OK;
}

static void ensi_grpc_prefix(uint8_t *p, size_t len, bool compressed)
{
    p[0] = compressed ? ENSI_GRPC_COMPRESSED_FLAG : 0;
    ensi_put_be32(p + 1, (uint32_t)len);
}

static void ensi_grpc_commit(ensi_call_t *call, size_t len, int flags)
{
    ensi_grpc_prefix(call->out.ptr + call->out.end, len, (flags & ENSIGN_COMPRESSED) != 0);
    call->out.end += ENSI_GRPC_PREFIX + len;
    call->reserved = 0;
    ensi_env_work(call->env);
}

/* Would what was refused with AGAIN fit now? */
static bool ensi_grpc_has_room(const ensi_call_t *call)
{
    size_t waiting = call->out.end - call->sent;
    return waiting == 0 || waiting + call->room_wanted <= call->out.cap;
}

/* ---- the request */

/* "Request-Headers", Timeout: at most 8 digits and a unit. */
static void ensi_grpc_timeout(char *out, size_t cap, uint32_t left_ms)
{
    if (left_ms < 100000000) ensi_fmt(out, cap, "%lum", (unsigned long)left_ms);
    else ensi_fmt(out, cap, "%luS", (unsigned long)(left_ms / 1000));
}

static void ensi_grpc_nv(nghttp2_nv *nv, ensign_slice_t name, ensign_slice_t value, bool secret)
{
    nv->name = (uint8_t *)(uintptr_t)name.ptr; /* nghttp2 copies, its type lacks const */
    nv->namelen = name.len;
    nv->value = (uint8_t *)(uintptr_t)value.ptr;
    nv->valuelen = value.len;
    nv->flags = secret ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE;
}

typedef struct ensi_grpc_common_t {     /* what all calls on a connection share */
    const char *scheme, *authority, *user_agent;
    const char *bearer;                 /* "Bearer x"; NULL: none */
} ensi_grpc_common_t;

static void ensi_grpc_nv_text(nghttp2_nv *nv, size_t *n, const char *name, const char *value)
{
    if (!value) return;
    ensi_grpc_nv(&nv[(*n)++], ensign_str(name), ensign_str(value), false);
}

/* The caller's metadata, from the block that ensi_call_set_metadata made. */
static void ensi_grpc_nv_extra(const ensi_call_t *call, nghttp2_nv *nv, size_t *n)
{
    const char *p = call->extra;
    for (size_t i = 0; i < call->extra_count; i++) {
        ensign_slice_t key = ensign_str(p), value;
        p += key.len + 1;
        value.len = ensi_get_be32((const uint8_t *)p);
        value.ptr = (const uint8_t *)p + 4;
        p += 4 + value.len;
        ensi_grpc_nv(&nv[(*n)++], key, value, ensi_slice_is(key, "authorization"));
    }
}

static int ensi_grpc_submit(ensi_call_t *call, ensi_h2_t *h, const ensi_grpc_common_t *common)
{
    nghttp2_nv nv[ENSI_GRPC_FIXED_HEADERS + ENSI_GRPC_MAX_HEADERS];
    char timeout[24], before[24];
    size_t n = 0;
    uint32_t left = ensi_timer_left(&call->deadline, call->env->now_ms);
    bool token = common->bearer && !call->no_token && !call->own_token;
    int rc;

    if (left == 0) return ENSIGN_AGAIN; /* too late: its tick ends it */
    ensi_grpc_nv_text(nv, &n, ":method", "POST");
    ensi_grpc_nv_text(nv, &n, ":scheme", common->scheme);
    ensi_grpc_nv_text(nv, &n, ":path", call->method);
    ensi_grpc_nv_text(nv, &n, ":authority", common->authority);
    ensi_grpc_nv_text(nv, &n, "te", "trailers");
    ensi_grpc_nv_text(nv, &n, "content-type", "application/grpc");
    ensi_grpc_nv_text(nv, &n, "user-agent", common->user_agent);
    ensi_grpc_timeout(timeout, sizeof timeout, left);
    if (left != ENSIGN_FOREVER) ensi_grpc_nv_text(nv, &n, "grpc-timeout", timeout);
    if (call->attempts > 1) {
        ensi_fmt(before, sizeof before, "%lu", (unsigned long)call->attempts - 1);
        ensi_grpc_nv_text(nv, &n, "grpc-previous-rpc-attempts", before);
    }
    ensi_grpc_nv_text(nv, &n, "grpc-encoding", call->encoding);
    ensi_grpc_nv_text(nv, &n, "grpc-accept-encoding", call->accept_encoding);
    if (token) ensi_grpc_nv(&nv[n++], ensign_str("authorization"), ensign_str(common->bearer), true);
    ensi_grpc_nv_extra(call, nv, &n);
    rc = ensi_h2_submit(h, &call->s, nv, n);
    if (rc != ENSIGN_OK) return rc;
    call->token = token ? call->env->stats.tokens : 0;
    ensi_must(ensi_grpc_move(call, ENSI_GRPC_ON_SUBMIT));
    return ENSIGN_OK;
}

/* New calls go to the end; one that is sent again goes before those that asked later. */
static void ensi_grpc_enqueue(ensi_call_t *call)
{
    ensi_calls_t *all = call->all;
    ensi_call_t *before = all->tail;
    while (before && before->order > call->order) before = before->queue_prev;
    call->queue_prev = before;
    call->queue_next = before ? before->queue_next : all->head;
    if (before) before->queue_next = call;
    else all->head = call;
    if (call->queue_next) call->queue_next->queue_prev = call;
    else all->tail = call;
    all->fresh = true;
}

static void ensi_grpc_dequeue(ensi_call_t *call)
{
    ensi_calls_t *all = call->all;
    if (all->head != call && !call->queue_prev) return; /* it is not in the queue */
    if (call->queue_prev) call->queue_prev->queue_next = call->queue_next;
    else all->head = call->queue_next;
    if (call->queue_next) call->queue_next->queue_prev = call->queue_prev;
    else all->tail = call->queue_prev;
    call->queue_next = call->queue_prev = NULL;
}

/* Forgets what an answer has told, except its messages. */
static void ensi_grpc_clear(ensi_call_t *call)
{
    for (int i = 0; i < 2; i++) ensi_meta_clear(&call->meta[i]);
    call->http_status = call->grpc_status = -1;
    call->grpc_content = call->encoded = call->from_server = call->forbidden = false;
    call->text = call->details = ensi_slice(NULL, 0);
    call->pushback_ms = -1;
}

/* Puts a new, or an ended, call into the queue, to be sent from its first byte. What a former stream left in
 * the receive buffer stays. */
static void ensi_grpc_queue(ensi_call_t *call)
{
    ensi_must(ensi_grpc_move(call, ENSI_GRPC_ON_QUEUE));
    ensi_grpc_clear(call);
    call->retried = call->retried && call->attempts > 1; /* once for all attempts */
    call->unprocessed = call->drop = false;
    call->end_status = ENSIGN_GRPC_OK;
    call->fault.code = 0;
    call->sent = 0;
    call->kept = true;
    ensi_stream_clear(&call->s);
    call->order = ++call->all->orders;
    ensi_grpc_enqueue(call);
    ensi_env_work(call->env);
}

/* Empties an ended call for another request, of up to `cap` bytes at *out: OK or E_MEMORY. */
static ENSI_UNUSED int ensi_call_restart(ensi_call_t *call, size_t cap, uint8_t **out)
{
    call->out.end = call->sent = 0;
    call->half_closed = false;
    return ensi_grpc_reserve(call, cap, out);
}

/* Makes an ended call fit for a second try of the same request: what was received, and is not lent, goes. */
static void ensi_call_rewind(ensi_call_t *call)
{
    call->sent = 0;
    ensi_rx_truncate(&call->s.rx, 0);
}

/* Keeps an ended call, whose request is here still, for another attempt after so long. */
static void ensi_grpc_pause(ensi_call_t *call, uint32_t after_ms)
{
    ensi_must(ensi_grpc_move(call, ENSI_GRPC_ON_PAUSE));
    call->tried = call->tried || !call->unprocessed;
    ensi_call_rewind(call);
    ensi_stream_clear(&call->s);
    ensi_grpc_clear(call);
    ensi_timer_start(&call->again, after_ms);
}

/* ---- ending */

static void ensi_grpc_end(ensi_call_t *call, int status)
{
    ensi_must(ensi_grpc_move(call, ENSI_GRPC_ON_END));
    call->end_status = status;
    ensi_timer_stop(&call->again);
}

/* Ends a call from our side: RST_STREAM, and the reason. One that is not under way stays as it is. */
static void ensi_grpc_abort(ensi_call_t *call, int status, int code, const char *format, ...)
    ENSI_PRINTF(4, 5);
static void ensi_grpc_abort(ensi_call_t *call, int status, int code, const char *format, ...)
{
    va_list args;
    if (call->state == ENSI_GRPC_NEW || call->state == ENSI_GRPC_ENDED) return;
    va_start(args, format);
    ensi_fail_v(&call->fault, code, 0, format, args);
    va_end(args);
    call->unprocessed = call->state != ENSI_GRPC_OPEN || !call->s.headers_sent;
    if (call->state == ENSI_GRPC_QUEUED) ensi_grpc_dequeue(call);
    ensi_h2_reset(&call->s, NGHTTP2_CANCEL);
    ensi_stream_untouch(&call->s);
    ensi_grpc_end(call, status);
    ensi_env_work(call->env);
}
#ifdef ENSIGN_NO_ERROR_TEXT
#define ensi_grpc_abort(call, status, code, ...) \
    (ENSI_NO_WORDS(__VA_ARGS__), ensi_grpc_abort(call, status, code, "?"))
#endif

/* A status counts in trailers that came whole, and OK only behind a gRPC answer. */
static bool ensi_grpc_has_status(const ensi_call_t *call)
{
    return call->s.ended && call->grpc_status >= 0 && (call->grpc_status != ENSIGN_GRPC_OK || !call->s.deaf);
}

/* The stream ended without a status, or was reset: what the HTTP status or the reset say. */
static int ensi_grpc_judge_http(ensi_call_t *call)
{
    ensign_error_t *e = &call->fault;
    uint32_t code = call->s.close_code;
    char *words = call->s.words;

    words[ensi_grpc_hide(call, words, strlen(words)).len] = '\0';
    ensi_http1_words(ensign_str(words), words, sizeof call->s.words);
    if (!call->s.headers_sent) { /* nghttp2 closes it: too large, or behind a GOAWAY, once more */
        call->unprocessed = true;
        ensi_fail(e, ENSIGN_E_UNAVAILABLE, 0,
                  "http2: %s could not be sent; are its headers, with the token, over max_header_bytes?",
                  call->method);
        return ENSIGN_GRPC_UNAVAILABLE;
    }
    if (call->http_status >= 0 && call->http_status != 200) {
        ensi_fail(e, ENSIGN_E_PROTOCOL, call->http_status, "http: %.80s answers HTTP status %d%s%.64s; %s",
                  call->method, call->http_status, words[0] ? ": " : "", words,
                  ensi_grpc_http_advice(call->http_status));
        return ensi_grpc_of_http(call->http_status);
    }
    if (code == NGHTTP2_CANCEL && ensi_timer_left(&call->deadline, call->env->now_ms) == 0) {
        ensi_fail(e, ENSIGN_E_DEADLINE_EXCEEDED, 0, "call: the deadline passed, at the server first");
        return ENSIGN_GRPC_DEADLINE_EXCEEDED;
    }
    if (code != NGHTTP2_NO_ERROR || !call->s.ended) {
        ensi_fail(e, ENSIGN_E_RESET, (int)code, "http2: the stream of %s was reset with %s", call->method,
                  nghttp2_http2_strerror(code));
        return ensi_grpc_of_reset(code);
    }
    if (call->s.deaf)
        ensi_fail(e, ENSIGN_E_PROTOCOL, call->http_status,
                  "grpc: %s answers without content-type application/grpc%s%s; is this a gRPC server?",
                  call->method, words[0] ? ": " : "", words);
    else
        ensi_fail(e, ENSIGN_E_PROTOCOL, 0, "grpc: %s ended without a grpc-status", call->method);
    return ENSIGN_GRPC_UNKNOWN;
}

/* The stream has closed by itself. */
static void ensi_grpc_judge(ensi_call_t *call)
{
    char words[121], cut[64] = "";

    call->from_server = ensi_grpc_has_status(call);
    if (!call->from_server) {
        ensi_grpc_end(call, ensi_grpc_judge_http(call));
        return;
    }
    if (call->grpc_status != ENSIGN_GRPC_OK) {
        ensi_slice_words(call->text.len ? call->text : ensign_str("(no text)"), words, sizeof words);
        if (ensi_grpc_is_cut(call) && call->shows_metadata)
            ensi_fmt(cut, sizeof cut, " (metadata cut at max_metadata_bytes, %lu)",
                     (unsigned long)call->meta[1].limit);
        else if (ensi_grpc_is_cut(call))
            ensi_fmt(cut, sizeof cut, " (text cut)");
        ensi_fail(&call->fault, ENSIGN_E_GRPC - call->grpc_status, 0, "grpc: %s answers %s%s: %s",
                  call->method, ensi_grpc_status_name(call->grpc_status), cut, words);
    }
    ensi_grpc_end(call, call->grpc_status);
}

/* Ends a call whose answer is not gRPC: more of that answer would tell nothing new. */
static void ensi_grpc_end_deaf(ensi_call_t *call)
{
    ensi_h2_reset(&call->s, NGHTTP2_CANCEL);
    call->s.ended = true;
    call->s.close_code = NGHTTP2_NO_ERROR;
    ensi_grpc_judge(call);
}

/* Called by the connection's end for each stream that it cut. */
static void ensi_grpc_lost(ensi_call_t *call, const ensign_error_t *why)
{
    call->fault = *why;
    if (call->fault.code == 0)
        ensi_fail(&call->fault, ENSIGN_E_CLOSED, 0, "http2: the connection was closed before %s ended",
                  call->method);
    call->unprocessed = !call->s.headers_sent;
    ensi_grpc_end(call, ENSIGN_GRPC_UNAVAILABLE);
}

/* May a call that the server did not process be sent again? Once, and while its bytes are here. */
static bool ensi_grpc_retry(ensi_call_t *call)
{
    if (call->retried || !call->kept || call->s.headers_done || !ensi_grpc_move(call, ENSI_GRPC_ON_RETRY))
        return false;
    call->retried = true;
    call->sent = 0;
    call->fault.code = 0;
    ensi_stream_clear(&call->s);
    ensi_grpc_enqueue(call);
    return true;
}

/* ---- messages: peek at the next one; lend it to a notice, release what is lent; or drop it */

/* The status of a call that ends for such a fault of its messages. */
static int ensi_grpc_status_of(int code)
{
    return code == ENSIGN_E_TOO_LARGE || code == ENSIGN_E_MEMORY ? ENSIGN_GRPC_RESOURCE_EXHAUSTED
                                                                 : ENSIGN_GRPC_INTERNAL;
}

/* The next message: OK, it is whole; AGAIN; or < 0, and `fault` says why the call must end. *bytes has the
 * length that its prefix tells, as soon as that is here. */
static int ensi_msg_peek(ensi_call_t *call, ensign_slice_t *bytes)
{
    ensi_rx_t *r = &call->s.rx;
    size_t total;
    int rc = ensi_rx_head(r, &total);
    uint8_t flag;
    *bytes = ensi_slice(NULL, total - ENSI_GRPC_PREFIX);
    if (ensi_rx_waiting(r) < ENSI_GRPC_PREFIX) return ENSIGN_AGAIN;
    bytes->ptr = ensi_rx_at(r, ENSI_GRPC_PREFIX);
    if (r->surplus || (r->one && rc == ENSIGN_OK && ensi_rx_waiting(r) > total))
        return ensi_fail(&call->fault, ENSIGN_E_INTERNAL, 0,
                         "grpc: %s is unary, but has more than one answer", call->method);
    flag = *ensi_rx_at(r, 0);
    if (total > r->limit)
        return ensi_fail(&call->fault, ENSIGN_E_TOO_LARGE, 0,
                         "grpc: %s sends a message of %lu bytes, %lu are allowed; raise %s", call->method,
                         (unsigned long)bytes->len, (unsigned long)(r->limit - ENSI_GRPC_PREFIX),
                         call->limit_name);
    if (flag > ENSI_GRPC_COMPRESSED_FLAG ||
        (flag == ENSI_GRPC_COMPRESSED_FLAG && !call->encoded))
        return ensi_fail(&call->fault, ENSIGN_E_INTERNAL, 0,
                         "grpc: %s sends a message with flag %u, though no compression was agreed",
                         call->method, flag);
    return rc;
}

/* Was the message that peek has shown compressed? */
static bool ensi_msg_compressed(ensign_slice_t bytes)
{
    return bytes.ptr && bytes.ptr[-ENSI_GRPC_PREFIX] == ENSI_GRPC_COMPRESSED_FLAG;
}

/* A message that is wrong, or one too many, ends the call while the server may still send. */
static void ensi_msg_inspect(ensi_call_t *call)
{
    ensign_slice_t bytes;
    int rc = call->state == ENSI_GRPC_OPEN ? ensi_msg_peek(call, &bytes) : ENSIGN_AGAIN;
    if (rc < 0) ensi_grpc_abort(call, ensi_grpc_status_of(rc), rc, "%s", call->fault.text);
}

/* What is lent stands no longer. */
static void ensi_msg_release(ensi_call_t *call)
{
    call->s.moved = true;
    if (ensi_rx_release(&call->s.rx, &call->env->mem)) return;
    ensi_stream_touch(&call->s); /* there is room behind what waits: the pump gives credit for it */
    ensi_env_work(call->env);
}

/* The message that peek has shown stands until it is released. Nothing may be lent before. */
static void ensi_msg_lend(ensi_call_t *call)
{
    size_t total;
    ENSIGN_ASSERT(call->s.rx.lent == 0);
    if (ensi_rx_head(&call->s.rx, &total) == ENSIGN_OK) call->s.rx.lent = total;
    call->s.moved = true;
    call->messages++;
}

/* Takes the next message out of the buffer. Its bytes stand until the buffer is filled, fitted or freed. */
static ENSI_UNUSED int ensi_msg_take(ensi_call_t *call, ensign_slice_t *bytes)
{
    int rc = ensi_msg_peek(call, bytes);
    if (rc != ENSIGN_OK) return rc;
    ensi_rx_take(&call->s.rx, ENSI_GRPC_PREFIX + bytes->len);
    call->messages++;
    call->s.moved = true;
    return ENSIGN_OK;
}

static void ensi_grpc_end_notice(ensi_call_t *call, ensign_notice_t *n, uint64_t count)
{
    ensign_notice_end_t *e = &n->as.end;
    e->status = call->end_status;
    e->count = count;
    e->text = call->text;
    e->details = call->details;
    e->from_server = call->from_server;
    e->unprocessed = call->unprocessed && !call->tried;
    e->retry_after_ms = call->pushback_ms;
    e->metadata_cut = ensi_grpc_is_cut(call);
    e->attempts = call->attempts;
}

/* Returns how many attempts have failed. */
static uint32_t ensi_grpc_failures(const ensi_call_t *call)
{
    return call->state == ENSI_GRPC_BACKOFF || call->attempts == 0 ? call->attempts : call->attempts - 1;
}

/* What is always true of a call; for assertions. */
static ENSI_UNUSED bool ensi_grpc_holds(const ensi_call_t *call)
{
    bool open = call->state == ENSI_GRPC_OPEN;
    return ensi_h2_holds(&call->s) && (!call->s.h2 || open) && call->sent <= call->out.end &&
           call->out.end <= call->out.cap && (!call->s.touched || call->s.list == &call->all->touched);
}

/* A zeroed one too. */
static void ensi_grpc_free(ensi_call_t *call, ensi_mem_t *m)
{
    ensi_rx_free(&call->s.rx, m);
    ensi_mem_free(m, call->out.ptr);
    for (int i = 0; i < 2; i++) {
        ensi_meta_clear(&call->meta[i]);
        ensi_mem_free(m, call->meta[i].ptr);
    }
    ensi_mem_free(m, call->method);
    if (call->extra) ensi_wipe(call->extra, ensi_mem_size(call->extra)); /* a token of the caller's, maybe */
    ensi_mem_free(m, call->extra);
}

typedef struct ensi_grpc_opts_t {
    const char *method, *encoding, *accept_encoding;
    const char *limit_name;             /* what max_message is called in the desc; a constant */
    size_t window, max_message, spare, out_min, max_send, max_meta;
    uint32_t deadline_ms;
    bool shows_metadata;
} ensi_grpc_opts_t;

/* What the calls of the service have alike. limit_name: what max_message is called in the desc. */
static ENSI_UNUSED ensi_grpc_opts_t ensi_grpc_opts(const char *method, size_t window, size_t max_message,
                                                   const char *limit_name, size_t out_min)
{
    ensi_grpc_opts_t o;
    memset(&o, 0, sizeof o);
    o.method = method;
    o.window = window;
    o.max_message = max_message;
    o.limit_name = limit_name;
    o.out_min = out_min;
    o.max_send = ENSI_SERVER_MESSAGE_MAX;
    o.max_meta = ENSI_GRPC_META;
    o.deadline_ms = ENSIGN_FOREVER;
    return o;
}

/* A zeroed call becomes a new one. The strings are copied into one block. */
static int ensi_grpc_init(ensi_call_t *call, ensi_env_t *env, ensi_calls_t *all, ensi_handle_t *owner,
                          const ensi_grpc_opts_t *o)
{
    size_t method = strlen(o->method) + 1, encoding = ensign_str(o->encoding).len + 1,
           accept = ensign_str(o->accept_encoding).len + 1;
    call->env = env;
    call->all = all;
    call->owner = owner;
    call->s.list = &all->touched;
    call->limit_name = o->limit_name;
    call->s.read = ensi_grpc_on_read;
    call->s.header = ensi_grpc_on_header;
    call->s.any_bytes = "grpc-message";
    call->out_min = o->out_min;
    call->max_send = o->max_send;
    call->meta[0].limit = call->meta[1].limit = o->max_meta;
    call->shows_metadata = o->shows_metadata;
    call->kept = true;
    ensi_rx_open(&call->s.rx, o->window, o->max_message + ENSI_GRPC_PREFIX, o->spare);
    ensi_timer_start(&call->deadline, o->deadline_ms);
    call->method = (char *)ensi_mem_take(&env->mem, method + encoding + accept);
    if (!call->method) return ensi_env_memory(env, method);
    memcpy(call->method, o->method, method);
    if (o->encoding) call->encoding = (char *)memcpy(call->method + method, o->encoding, encoding);
    if (o->accept_encoding)
        call->accept_encoding = (char *)memcpy(call->method + method + encoding, o->accept_encoding, accept);
    return ENSIGN_OK;
}

/* >>auth   may call: util mem env trace json http1 link
 *          open to: state ping reopen req client create
 * A token from an API key: HTTP/1.1 over the auth link
 *
 * Owns   key, tokens, the one exchange that may be in flight, the timers of renewal and of backoff.
 * Holds  `state` is assigned by ensi_auth_move alone (create sets the first).
 *        bearer is NULL unless there is a token whose life, counted from its arrival, is not over and that
 *        the server has not refused; a failed renewal does not take it away.
 *        However many calls wait, one exchange runs. Its buffers are wiped and given back when its link goes
 *        down; each token has a block of its size.
 * Moves  need -> ASKING -> READY; renewal goes the same way while the old token stays in use. A look at the
 *        service's status ("probe") uses the same link while no token is asked for, and moves no state.
 * Fails  400 and 403 of authenticate are final (DENIED). All else is tried again after a backoff, by the key
 *        if it was a refresh that failed; a refresh that is refused (400, 403) needs no backoff. */
typedef enum {
    ENSI_AUTH_OFF,                  /* no token is used */
    ENSI_AUTH_FIXED,                /* the caller's token */
    ENSI_AUTH_IDLE, ENSI_AUTH_ASKING, ENSI_AUTH_READY, ENSI_AUTH_WAIT, ENSI_AUTH_DENIED, ENSI_AUTH_STATES
} ensi_auth_state_t;
typedef enum {
    ENSI_AUTH_ON_NEED, ENSI_AUTH_ON_TOKEN, ENSI_AUTH_ON_FAULT,
    ENSI_AUTH_ON_STALE,             /* the refresh token was refused */
    ENSI_AUTH_ON_DENIED, ENSI_AUTH_ON_DUE, ENSI_AUTH_INPUTS
} ensi_auth_in_t;

static const ensi_move_t ensi_auth_moves[] = {
    { ENSI_AUTH_IDLE,   ENSI_AUTH_ON_NEED,   ENSI_AUTH_ASKING },
    { ENSI_AUTH_READY,  ENSI_AUTH_ON_NEED,   ENSI_AUTH_ASKING },
    { ENSI_AUTH_ASKING, ENSI_AUTH_ON_TOKEN,  ENSI_AUTH_READY  },
    { ENSI_AUTH_ASKING, ENSI_AUTH_ON_FAULT,  ENSI_AUTH_WAIT   },
    { ENSI_AUTH_ASKING, ENSI_AUTH_ON_STALE,  ENSI_AUTH_IDLE   },
    { ENSI_AUTH_ASKING, ENSI_AUTH_ON_DENIED, ENSI_AUTH_DENIED },
    { ENSI_AUTH_WAIT,   ENSI_AUTH_ON_DUE,    ENSI_AUTH_IDLE   },
};

enum {
    ENSI_AUTH_SCHEME = 7,           /* "Bearer " */
    ENSI_AUTH_HOST_BYTES = 272,     /* a name of 255 bytes, brackets, a port */
    ENSI_AUTH_TOKEN_CAP = ENSIGN_TOKEN_BYTES + 1,
    ENSI_AUTH_BODY_BYTES = 2 * ENSIGN_TOKEN_BYTES + 1024,
    ENSI_AUTH_LIFE_MAX_S = 24 * 24 * 3600 /* in ms it fits 32 bits */
};

enum { ENSI_AUTH_VERSION = 64 };
/* ENSIGN_SERVICE_x, which the gRPC-only build does not have */
enum { ENSI_AUTH_SERVING = 1, ENSI_AUTH_OFFLINE = 4, ENSI_AUTH_MAINTENANCE = 5 };

typedef struct ensi_auth_said_t {       /* what the last probe brought */
    uint64_t count;                     /* of probes so far */
    int state;                          /* ENSIGN_SERVICE_x */
    int64_t uptime_ms;
    char version[ENSI_AUTH_VERSION];
    ensign_error_t fault;               /* code 0: all is well */
} ensi_auth_said_t;

typedef struct ensi_auth_t {
    ensi_env_t *env;
    ensi_link_t *link;
    ensi_trace_t *trace;            /* NULL: no hook */
    ensi_auth_state_t state;
    const char *client_id, *client_secret;  /* in the client's block of strings */
    const char *user_agent;
    char *access;                   /* "Bearer " and the token; NULL: none came yet */
    char *before;                   /* the one before it: calls that run may have it, and it may be good */
    char *refresh;                  /* NULL: none */
    uint8_t *body;                  /* while an exchange runs */
    size_t body_used;               /* of its bytes, by the request */
    const char *bearer;             /* access, while it is good; NULL: none */
    bool refreshing;                /* what is asked is a refresh */
    bool asked;                     /* the request is in tx */
    bool renew_due;                 /* the token is good, but should be renewed */
    bool stale;                     /* a refresh failed, or the server refused the token: authenticate */
    bool probe_wanted, probing;
    ensi_auth_said_t said;
    ensi_http1_t http;
    ensi_timer_t renew, expire, retry;
    uint64_t refresh_from_ms;       /* when the refresh token starts to be good */
    ensi_backoff_t backoff;
    uint32_t faults;                /* in all */
    ensign_error_t fault;
} ensi_auth_t;

static bool ensi_auth_move(ensi_auth_t *a, ensi_auth_in_t in)
{
    int to = ensi_move(ensi_auth_moves, ENSI_COUNT(ensi_auth_moves), (int)a->state, (int)in);
    if (to < 0) return false;
    a->state = (ensi_auth_state_t)to;
    return true;
}

/* An exchange leaves the key and the tokens in its body; those of the link's buffers go with them. The body
 * is wiped as far as it was used. */
static void ensi_auth_wipe(ensi_auth_t *a)
{
    if (a->body) ensi_wipe(a->body, ensi_max(a->body_used, a->http.body_len));
    a->body_used = a->http.body_len = 0;
}

static void ensi_auth_release(ensi_auth_t *a)
{
    ensi_auth_wipe(a);
    ensi_mem_free(&a->env->mem, a->body);
    a->body = NULL;
}

/* Wipes a token, and gives its block back. */
static void ensi_auth_forget(ensi_auth_t *a, char *token)
{
    if (token) ensi_wipe(token, ensi_mem_size(token));
    ensi_mem_free(&a->env->mem, token);
}

static void ensi_auth_free(ensi_auth_t *a)
{
    memset(a->env->secrets, 0, sizeof a->env->secrets); /* no text is shown any more */
    ensi_auth_release(a);
    ensi_auth_forget(a, a->access);
    ensi_auth_forget(a, a->before);
    ensi_auth_forget(a, a->refresh);
}

static bool ensi_auth_memory(ensi_auth_t *a)
{
    if (!a->body) a->body = (uint8_t *)ensi_mem_take(&a->env->mem, ENSI_AUTH_BODY_BYTES);
    return a->body != NULL;
}

/* The tokens are these from now on. */
static void ensi_auth_keep(ensi_auth_t *a, char *access, char *refresh)
{
    const char **secrets = a->env->secrets;
    ensi_auth_forget(a, a->before);
    ensi_auth_forget(a, a->refresh);
    a->before = a->access;
    a->access = access;
    a->refresh = refresh;
    secrets[ENSI_SECRET_TOKEN] = a->access + ENSI_AUTH_SCHEME;
    secrets[ENSI_SECRET_TOKEN_BEFORE] = a->before ? a->before + ENSI_AUTH_SCHEME : NULL;
    secrets[ENSI_SECRET_REFRESH] = a->refresh;
}

/* The exchange failed; it is tried again later. native: the HTTP status, if there was one. */
static void ensi_auth_fail(ensi_auth_t *a, int native, const char *format, ...) ENSI_PRINTF(3, 4);
static void ensi_auth_fail(ensi_auth_t *a, int native, const char *format, ...)
{
    ensi_link_t *l = a->link;
    uint32_t wait_ms;
    va_list args;
    if (!ensi_auth_move(a, ENSI_AUTH_ON_FAULT)) return;
    va_start(args, format);
    ensi_fail_v(&a->fault, ENSIGN_E_AUTH, native, format, args);
    va_end(args);
    ensi_backoff_fail(&a->backoff, a->env);
    a->faults++;
    if (a->refreshing) a->stale = true;
    wait_ms = ensi_backoff_draw(&a->backoff, a->env);
    ensi_timer_start(&a->retry, wait_ms);
    ENSI_LOG((a->env, ENSIGN_LOG_WARNING, "%s", a->fault.text));
    ENSI_LOG((a->env, ENSIGN_LOG_DEBUG, "auth: next attempt in %lu ms, failures in a row: %lu",
              (unsigned long)wait_ms, (unsigned long)a->backoff.failures));
    ensi_link_stop(l);
}
#ifdef ENSIGN_NO_ERROR_TEXT
#define ensi_auth_fail(a, native, ...) \
    (ENSI_NO_WORDS(__VA_ARGS__), ensi_auth_fail(a, native, "?"))
#endif

/* {"client_id":"..","client_secret":".."} or {"refresh_token":".."}; 0: it does not fit, or is no UTF-8. */
static size_t ensi_auth_body(ensi_auth_t *a, char *out, size_t cap)
{
    const char *key[2] = { "client_id", "client_secret" };
    const char *value[2] = { a->client_id, a->client_secret };
    size_t n = 0, count = a->refreshing ? 1 : 2;
    if (a->refreshing) {
        key[0] = "refresh_token";
        value[0] = a->refresh;
    }
    for (size_t i = 0; i < count; i++) {
        size_t len = 0;
        int head = ensi_fmt(out + n, cap - n, "%s\"%s\":\"", i ? "," : "{", key[i]);
        if (head < 0 || (size_t)head >= cap - n) return 0;
        n += (size_t)head;
        if (ensi_json_escape(ensign_str(value[i]), out + n, cap - n, &len) != ENSIGN_OK) return 0;
        n += len;
        if (cap - n < 3) return 0;
        out[n++] = '"';
    }
    out[n++] = '}';
    return n;
}

/* Where the port is the scheme's own, Host is without it, as browsers write it. */
static void ensi_auth_host(const ensi_endpoint_t *end, char *out, size_t cap)
{
    const ensi_host_t *h = &end->host;
    int len = ensi_fmt(out, cap, ensi_target_is_v6(h->name) ? "[%s]" : "%s", h->name);
    if (len > 0 && (size_t)len < cap && h->port != (end->secure ? 443 : 80))
        ensi_fmt(out + len, cap - (size_t)len, ":%u", (unsigned)h->port);
}

/* The request of the exchange that is due, into `out`; the last *body bytes are its body. */
static bool ensi_auth_request(ensi_auth_t *a, char *out, size_t room, size_t *len, size_t *body)
{
    char host[ENSI_AUTH_HOST_BYTES];
    *body = 0;
    ensi_auth_host(a->link->end, host, sizeof host);
    if (a->probing)
        return ensi_http1_request(out, room, len, "GET", "/v1/status", host, a->user_agent, NULL, 0) ==
               ENSIGN_OK;
    a->body_used = ENSI_AUTH_BODY_BYTES; /* if it does not fit */
    *body = ensi_auth_body(a, (char *)a->body, ENSI_AUTH_BODY_BYTES);
    if (*body > 0) a->body_used = *body;
    return *body > 0 &&
           ensi_http1_request(out, room, len, "POST", a->refreshing ? "/v1/refresh" : "/v1/authenticate",
                              host, a->user_agent, (const char *)a->body, *body) == ENSIGN_OK;
}

static void ensi_auth_ask(ensi_auth_t *a)
{
    ensi_link_t *l = a->link;
    size_t room, len = 0, body;
    uint8_t *out = ensi_link_reserve(l, &room);
    if (!out) return;
    if (!ensi_auth_request(a, (char *)out, room, &len, &body)) {
        ensi_wipe(out, room);
        ensi_auth_fail(a, 0, "auth: no request to %s can be made: the %s is no UTF-8, or over %lu bytes",
                       ensi_link_where(l), a->refreshing ? "refresh token" : "key", (unsigned long)room);
        ensi_link_stop(l); /* a probe learns of it there */
        return;
    }
    if (a->trace) ensi_trace_request(a->trace, ensi_slice(out, len), body);
    if (ensi_link_commit(l, len) != ENSIGN_OK) {
        ensi_link_stop(l);
        return;
    }
    ensi_http1_init(&a->http, a->body, ENSI_AUTH_BODY_BYTES);
    if (a->trace) {
        ensi_names_clear(&a->trace->in); /* an answer before may have broken off */
        a->http.names = &a->trace->in;
    }
    a->asked = true;
}

/* Seconds from one date of a token to another, 0 to ENSI_AUTH_LIFE_MAX_S, whatever numbers stand there. */
static uint32_t ensi_auth_span(int64_t from, int64_t to)
{
    uint64_t span = to > from ? (uint64_t)to - (uint64_t)from : 0;
    return span < ENSI_AUTH_LIFE_MAX_S ? (uint32_t)span : (uint32_t)ENSI_AUTH_LIFE_MAX_S;
}

/* When to renew: the later of 80 % of the access token's life and the begin of the refresh token's. A refresh
 * token that begins only after the access token has ended is of no use. All is counted from now, so that a
 * wrong clock does no harm. */
static void ensi_auth_lives(ensi_auth_t *a)
{
    ensi_jwt_t access, refresh;
    uint32_t life_ms, renew_ms, from_ms = 0;
    ensi_timer_stop(&a->renew);
    ensi_timer_stop(&a->expire);
    a->refresh_from_ms = a->env->now_ms;
    if (ensi_jwt_read(ensign_str(a->access + ENSI_AUTH_SCHEME), &access) != ENSIGN_OK) return;
    if (access.iat == 0) access.iat = access.nbf;
    if (access.iat == 0 || access.exp == 0) return; /* no life to be known: until the server refuses it */
    life_ms = 1000 * ensi_auth_span(access.iat, access.exp);
    if (life_ms == 0) life_ms = 1000;
    renew_ms = life_ms / 5 * 4;
    if (a->refresh && ensi_jwt_read(ensign_str(a->refresh), &refresh) == ENSIGN_OK && refresh.iat != 0)
        from_ms = 1000 * ensi_auth_span(refresh.iat, refresh.nbf);
    if (from_ms >= life_ms && a->refresh) a->refresh[0] = '\0';
    else if (from_ms > renew_ms) renew_ms = from_ms;
    a->refresh_from_ms += from_ms;
    ensi_timer_start(&a->renew, renew_ms);
    ensi_timer_start(&a->expire, life_ms);
}

/* What can stand in a header field. A NUL would cut it, and a line's end have the server reset each call. */
static bool ensi_auth_is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] <= 0x20 || text[i] >= 0x7F) return false;
    return len > 0;
}

/* A token of the answer, in a block of its own with room for `head` bytes before it. OK, also where the
 * answer has none, or one that is too long: *out is NULL then; E_MEMORY. */
static int ensi_auth_read(ensi_auth_t *a, const char *key, size_t head, char **out, size_t *len)
{
    ensign_slice_t doc = ensi_slice(a->body, a->http.body_len), value;
    size_t cap;
    *out = NULL;
    *len = 0;
    if (ensi_json_member(doc, key, &value) != ENSIGN_OK) return ENSIGN_OK;
    cap = ensi_min(value.len, ENSI_AUTH_TOKEN_CAP); /* with its quotes it is longer than what it says */
    *out = (char *)ensi_mem_take(&a->env->mem, head + cap);
    if (!*out) return ENSIGN_E_MEMORY;
    if (ensi_json_string(doc, key, *out + head, cap, len) == ENSIGN_OK) return ENSIGN_OK;
    ensi_auth_forget(a, *out);
    *out = NULL;
    return ENSIGN_OK;
}

static void ensi_auth_accept(ensi_auth_t *a)
{
    char *access, *refresh = NULL;
    size_t len, rest;
    int rc = ensi_auth_read(a, "access_token", ENSI_AUTH_SCHEME, &access, &len);
    bool good = access && ensi_auth_is_token(access + ENSI_AUTH_SCHEME, len);
    if (good) rc = ensi_auth_read(a, "refresh_token", 0, &refresh, &rest);
    if (rc != ENSIGN_OK || !good) {
        ensi_auth_forget(a, access);
        if (rc != ENSIGN_OK)
            ensi_auth_fail(a, 0, "auth: no memory for the tokens; free some or raise memory_limit");
        else ensi_auth_fail(a, a->http.status,
                            "auth: %s answers without an access_token of 1 to %d printable ASCII characters",
                            ensi_link_where(a->link), ENSIGN_TOKEN_BYTES);
        return;
    }
    memcpy(access, "Bearer ", ENSI_AUTH_SCHEME);
    ensi_auth_keep(a, access, refresh);
    a->bearer = a->access;
    a->backoff.failures = a->link->target->backoff.failures = 0;
    a->stale = a->renew_due = false;
    a->fault.code = 0;
    a->env->stats.tokens++;
    ensi_auth_lives(a);
    ensi_must(ensi_auth_move(a, ENSI_AUTH_ON_TOKEN));
    ENSI_LOG((a->env, ENSIGN_LOG_DEBUG, "auth: a token from %s", ensi_link_where(a->link)));
}

static void ensi_auth_judge(ensi_auth_t *a)
{
    int status = a->http.status, rc;
    char said[100];
    size_t len;
    if (status == 200) {
        ensi_auth_accept(a);
        return;
    }
    rc = ensi_json_string(ensi_slice(a->body, a->http.body_len), "error", said, sizeof said, &len);
    if (rc != ENSIGN_OK) ensi_fmt(said, sizeof said, "no reason given");
    said[ensi_env_hide(a->env, said, strlen(said))] = '\0'; /* a server may repeat the request */
    if (status != 400 && status != 403) {
        ensi_auth_fail(a, status, "auth: %s answers HTTP %d: %s; trying again",
                       ensi_link_where(a->link), status, said);
    } else if (a->refreshing) {
        a->stale = true;
        ensi_must(ensi_auth_move(a, ENSI_AUTH_ON_STALE));
        ENSI_LOG((a->env, ENSIGN_LOG_DEBUG, "auth: the refresh token is refused (HTTP %d)", status));
    } else {
        ensi_fail(&a->fault, ENSIGN_E_CREDENTIALS, status,
                  "auth: %s refuses this key (HTTP %d: %s); check client_id and client_secret",
                  ensi_link_where(a->link), status, said);
        a->bearer = NULL;
        ensi_must(ensi_auth_move(a, ENSI_AUTH_ON_DENIED));
        ENSI_LOG((a->env, ENSIGN_LOG_DEBUG, "auth: the key is refused (HTTP %d), for good", status));
    }
}

/* ---- the service's status */

/* A probe has come to its end. code 0: `said` is filled; else why it is not. */
static void ensi_auth_probed(ensi_auth_t *a, int code, int native, const char *text)
{
    a->probing = false;
    a->said.count++;
    a->said.fault.code = 0;
    if (code != 0)
        ensi_fail(&a->said.fault, code, native, "auth: no status of %s: %s", ensi_link_where(a->link), text);
}

/* Go's way of writing a duration, "1h2m3.5s": milliseconds, 0 for other text. */
static int64_t ensi_auth_duration(const char *p)
{
    static const struct { const char *unit; double ms; } units[] = {
        { "ns", 1e-6 }, { "us", 1e-3 }, { "\xC2\xB5s", 1e-3 }, { "ms", 1 },
        { "h", 3600e3 }, { "m", 60e3 }, { "s", 1e3 },
    };
    double sum = 0;
    while (*p) {
        double value = 0, place = 1;
        size_t i;
        for (; *p >= '0' && *p <= '9'; p++) value = value * 10 + (*p - '0');
        if (*p == '.') p++;
        for (; *p >= '0' && *p <= '9'; p++) value += (*p - '0') * (place /= 10);
        for (i = 0; i < ENSI_COUNT(units) && strncmp(p, units[i].unit, strlen(units[i].unit)) != 0;) i++;
        if (i == ENSI_COUNT(units)) return 0;
        sum += value * units[i].ms;
        p += strlen(units[i].unit);
    }
    return sum < 9e15 ? (int64_t)sum : 0;
}

static void ensi_auth_status(ensi_auth_t *a)
{
    static const struct { const char *word; int state; } words[] = {
        { "ok", ENSI_AUTH_SERVING },
        { "maintenance", ENSI_AUTH_MAINTENANCE },
        { "stopping", ENSI_AUTH_OFFLINE },
    };
    ensign_slice_t doc = ensi_slice(a->body, a->http.body_len);
    char word[32], uptime[64];
    size_t len;
    if (ensi_json_string(doc, "status", word, sizeof word, &len) != ENSIGN_OK) {
        ensi_auth_probed(a, ENSIGN_E_AUTH, a->http.status,
                         "the answer is no JSON with a status; is auth_url right?");
        return;
    }
    a->said.state = 0;
    for (size_t i = 0; i < ENSI_COUNT(words); i++)
        if (strcmp(word, words[i].word) == 0) a->said.state = words[i].state;
    if (ensi_json_string(doc, "version", a->said.version, sizeof a->said.version, &len) != ENSIGN_OK)
        a->said.version[0] = '\0';
    if (ensi_json_string(doc, "uptime", uptime, sizeof uptime, &len) != ENSIGN_OK) uptime[0] = '\0';
    a->said.uptime_ms = ensi_auth_duration(uptime);
    a->link->target->backoff.failures = 0;
    ensi_auth_probed(a, 0, 0, NULL);
}

/* ---- the exchange */

static bool ensi_auth_busy(const ensi_auth_t *a)
{
    return a->probing || a->state == ENSI_AUTH_ASKING;
}

/* Acts on an answer. One that is not HTTP/1.1 is the link's fault; ensi_auth_lost decides what follows. */
static void ensi_auth_outcome(ensi_auth_t *a, int rc)
{
    ensi_link_t *l = a->link;
    if (rc == ENSIGN_AGAIN) return;
    if (a->trace && a->http.status) ensi_trace_answer(a->trace, a->http.status, a->http.body_len);
    if (rc == ENSIGN_OK) {
        ensi_link_works(l);
        l->orderly = true; /* however it ends */
        if (a->probing) ensi_auth_status(a);
        else ensi_auth_judge(a);
    } else {
        ensi_link_fault(l, ENSIGN_E_PROTOCOL, 0, "auth: %s does not answer in HTTP/1.1: %s",
                        ensi_link_where(l), a->http.what ? a->http.what : "cut off");
    }
    ensi_link_stop(l);
}

/* The peer has closed in good order: an answer may end there. */
static void ensi_auth_closed(ensi_auth_t *a)
{
    if (ENSI_HAS_AUTH && a->link->state == ENSI_LINK_RUN && ensi_auth_busy(a) && a->asked)
        ensi_auth_outcome(a, ensi_http1_end(&a->http));
}

/* Bytes have come, or the connection is ready. */
static void ensi_auth_receive(ensi_auth_t *a)
{
    ensi_link_t *l = a->link;
    const uint8_t *p;
    size_t len, used;
    int rc = ENSI_HAS_AUTH ? ensi_link_shake(l) : (int)ENSIGN_AGAIN;
    while (ENSI_HAS_AUTH && rc == ENSIGN_OK && l->state == ENSI_LINK_RUN) {
        if (!a->asked) ensi_auth_ask(a);
        if (l->state != ENSI_LINK_RUN) return;
        rc = ensi_link_read(l, &p, &len);
        if (rc != ENSIGN_OK) break;
        if (!a->asked || !ensi_auth_busy(a)) continue;
        ensi_auth_outcome(a, ensi_http1_eat(&a->http, p, len, &used));
    }
    if (rc == ENSIGN_E_CLOSED) ensi_auth_closed(a);
    if (rc < 0) ensi_link_stop(l);
}

/* The connection is gone. What was asked is asked again at the next address of the round, if there is one. */
static void ensi_auth_lost(ensi_auth_t *a)
{
    const ensign_error_t *why = &a->link->fault;
    const char *whole = why->code ? why->text : "the connection was closed";
    const char *text = strncmp(whole, "auth: ", 6) == 0 ? whole + 6 : whole;
    if (!ENSI_HAS_AUTH) return;
    a->asked = false;
    ensi_auth_wipe(a);
    if (ensi_auth_busy(a) && ensi_link_goes_on(a->link)) {
        ENSI_LOG((a->env, ENSIGN_LOG_WARNING, "%s; the next one is asked", whole));
        return;
    }
    ensi_auth_release(a);
    if (a->probing) ensi_auth_probed(a, ENSIGN_E_AUTH, 0, text);
    else ensi_auth_fail(a, 0, "auth: no token: %s", text);
}

/* The server refused the token: get another one by the key. */
static void ensi_auth_reject(ensi_auth_t *a)
{
    if (!ENSI_HAS_AUTH || a->state == ENSI_AUTH_OFF || a->state == ENSI_AUTH_FIXED) return;
    a->stale = true;
    a->bearer = NULL;
    ensi_timer_stop(&a->renew);
    ENSI_LOG((a->env, ENSIGN_LOG_DEBUG, "auth: the server refuses the token"));
}

static bool ensi_auth_wants(ensi_auth_t *a, bool demand)
{
    if (a->state == ENSI_AUTH_IDLE) return demand;
    return a->state == ENSI_AUTH_READY && demand && (!a->bearer || a->renew_due || a->stale);
}

/* Starts an exchange where one is due. */
static void ensi_auth_pump(ensi_auth_t *a, bool demand, uint32_t timeout_ms)
{
    if (!ENSI_HAS_AUTH || a->link->state != ENSI_LINK_IDLE || ensi_target_waits(a->link->target)) return;
    if (ensi_auth_busy(a)) {
        ensi_link_want(a->link, timeout_ms); /* at the next address */
        return;
    }
    a->asked = false;
    if (ensi_auth_wants(a, demand)) {
        a->refreshing = !a->stale && a->refresh && a->refresh[0] && a->env->now_ms >= a->refresh_from_ms;
        ensi_must(ensi_auth_move(a, ENSI_AUTH_ON_NEED));
        ENSI_LOG((a->env, ENSIGN_LOG_DEBUG, "auth: asking %s for a token by the %s",
                  ensi_link_where(a->link), a->refreshing ? "refresh token" : "key"));
        if (!ensi_auth_memory(a)) {
            ensi_auth_fail(a, 0, "auth: no memory for the tokens; free some or raise memory_limit");
            return;
        }
        ensi_link_want(a->link, timeout_ms);
    } else if (a->probe_wanted) {
        a->probe_wanted = false;
        a->probing = true;
        ENSI_LOG((a->env, ENSIGN_LOG_DEBUG, "auth: asking %s for its status", ensi_link_where(a->link)));
        if (ensi_auth_memory(a)) ensi_link_want(a->link, timeout_ms);
        else ensi_auth_probed(a, ENSIGN_E_MEMORY, 0, "no memory for the answer");
    }
}

static void ensi_auth_tick(ensi_auth_t *a)
{
    uint64_t now = a->env->now_ms;
    if (!ENSI_HAS_AUTH) return;
    if (ensi_timer_due(&a->retry, now)) ensi_auth_move(a, ENSI_AUTH_ON_DUE);
    if (ensi_timer_due(&a->renew, now)) a->renew_due = true;
    if (ensi_timer_due(&a->expire, now)) {
        a->bearer = NULL;
        ENSI_LOG((a->env, ENSIGN_LOG_DEBUG, "auth: the token has expired"));
    }
}

/* What is always true; for assertions. */
static ENSI_UNUSED bool ensi_auth_holds(const ensi_auth_t *a)
{
    bool asking = a->state == ENSI_AUTH_ASKING;
    return !(asking && a->probing) && (!a->bearer || a->state == ENSI_AUTH_FIXED || a->bearer == a->access) &&
           (a->state != ENSI_AUTH_DENIED || !a->bearer) && (a->state != ENSI_AUTH_OFF || !a->bearer) &&
           (a->state == ENSI_AUTH_WAIT) == (a->retry.state != ENSI_TIMER_OFF);
}

/* Is a call that needs a token held up by a failing auth service? */
static bool ensi_auth_failing(const ensi_auth_t *a)
{
    return a->state == ENSI_AUTH_WAIT && !a->bearer;
}

#ifndef ENSIGN_NO_SERVICE
/* >>topic   may call: util mem pb wire id
 *           open to: place catchup create
 * The map of topics that a stream brings, the cache of topics, and an event from its bytes
 *
 * Owns   a copy of the message's map entries, and their order by name and by id: no server can choose names
 *        that make sorting or searching slow, as it could with a hash. Of the cache a bounded number of names
 *        and ids, in the same two orders, and in that of their last use: it is asked where a map does not
 *        know.
 * Holds  one allocation when a stream opens, none afterwards; entries that are not a name with 16 bytes are
 *        left out. Of two entries with one name, or one id, the later counts, as in any protobuf map.
 *        The block takes its head and less than twice the bytes of the map, whatever these are. It is shared
 *        by reference: streams that are given the same bytes have one block, and what a notice points into
 *        stands until the last one lets go of it.
 * Fails  no memory: the map is empty. */
typedef struct ensi_topic_entry_t { uint32_t name_at, name_len, id_at; } ensi_topic_entry_t;

typedef struct ensi_topics_block_t ensi_topics_block_t;
typedef struct ensi_topics_t {
    ensi_topics_block_t *block;     /* NULL: no map has come */
    ensi_topic_entry_t *entries;
    uint32_t *by_name, *by_id;      /* entries in order; of equal ones the later is behind */
    const uint8_t *bytes;
    size_t len, count;
} ensi_topics_t;

enum { ENSI_TOPIC_ID_BYTES = 16 };

/* A map that has owners; behind it lie the entries, the two orders and the bytes. All maps of a client are
 * nodes of one tree (a digital search tree): the bits of the hash, from the lowest on, choose the side on
 * which the search goes on. So the tree is never deeper than the hash is long. */
struct ensi_topics_block_t {
    uint32_t owners;
    uint64_t hash;                  /* of the bytes */
    ensi_topics_block_t *side[2];
    ensi_topics_block_t **at;       /* what points to it; NULL: not in the tree, as its hash is taken */
    ensi_topics_t map;
};

static uint64_t ensi_topics_hash(ensign_slice_t map)
{
    uint8_t hash[ENSI_ID_HASH];
    ensi_id_hash(map, hash);
    return ensi_get_be64(hash);
}

/* Where the map with this hash is attached, or would be. */
static ensi_topics_block_t **ensi_topics_place(ensi_topics_block_t **at, uint64_t hash)
{
    for (uint64_t way = hash; *at && (*at)->hash != hash; way >>= 1) at = &(*at)->side[way & 1];
    return at;
}

static void ensi_topics_attach(ensi_topics_block_t *b, ensi_topics_block_t **at)
{
    *at = b;
    b->at = at;
}

/* A leaf from below takes the place: the search for it passes there. */
static void ensi_topics_detach(ensi_topics_block_t *b)
{
    ensi_topics_block_t *leaf = b;
    if (!b->at) return;
    while (leaf->side[0] || leaf->side[1]) leaf = leaf->side[leaf->side[0] ? 0 : 1];
    *leaf->at = NULL;
    if (leaf == b) return;
    ensi_topics_attach(leaf, b->at);
    for (int i = 0; i < 2; i++)
        if (b->side[i]) ensi_topics_attach(b->side[i], &leaf->side[i]);
}

/* Another owner of the same map. */
static ensi_topics_t ensi_topics_share(const ensi_topics_t *t)
{
    if (t->block) t->block->owners++;
    return *t;
}

/* Lets go of the map; the last owner frees it. */
static void ensi_topics_free(ensi_topics_t *t, ensi_mem_t *m)
{
    if (!t->block) return;
    if (--t->block->owners == 0) {
        ensi_topics_detach(t->block);
        ensi_mem_free(m, t->block);
    }
    memset(t, 0, sizeof *t);
}

/* One map entry: field 1 the name, field 2 the id. */
static bool ensi_topics_entry(ensign_slice_t entry, ensign_slice_t *name, ensign_slice_t *id)
{
    const uint8_t *at = entry.ptr, *end = entry.ptr + entry.len;
    ensi_pb_item_t item;
    *name = *id = ensi_slice(NULL, 0);
    while (at < end && ensi_pb_item_next(&at, end, &item)) {
        if (item.wire != PB_WT_STRING) continue;
        if (item.tag == 1) *name = item.value;
        if (item.tag == 2) *id = item.value;
    }
    return name->len > 0 && id->len == ENSI_TOPIC_ID_BYTES;
}

static ensign_slice_t ensi_topics_key(const ensi_topics_t *t, const uint32_t *order, uint32_t entry)
{
    const ensi_topic_entry_t *e = &t->entries[entry];
    if (order == t->by_id) return ensi_slice(t->bytes + e->id_at, ENSI_TOPIC_ID_BYTES);
    return ensi_slice(t->bytes + e->name_at, e->name_len);
}

static int ensi_topics_compare(ensign_slice_t a, ensign_slice_t b)
{
    size_t n = ensi_min(a.len, b.len);
    int difference = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return difference ? difference : (a.len > b.len) - (a.len < b.len);
}

static bool ensi_topics_before(const ensi_topics_t *t, const uint32_t *order, uint32_t a, uint32_t b)
{
    int difference = ensi_topics_compare(ensi_topics_key(t, order, a), ensi_topics_key(t, order, b));
    return difference < 0 || (difference == 0 && a < b);
}

static void ensi_topics_swap(uint32_t *order, size_t i, size_t k)
{
    uint32_t entry = order[i];
    order[i] = order[k];
    order[k] = entry;
}

static void ensi_topics_sift(const ensi_topics_t *t, uint32_t *order, size_t at, size_t count)
{
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && ensi_topics_before(t, order, order[child], order[child + 1])) child++;
        if (!ensi_topics_before(t, order, order[at], order[child])) return;
        ensi_topics_swap(order, at, child);
    }
}

/* By a heap: without recursion, and without a worst case that a server could choose. */
static void ensi_topics_sort(const ensi_topics_t *t, uint32_t *order)
{
    for (size_t i = 0; i < t->count; i++) order[i] = (uint32_t)i;
    for (size_t i = t->count / 2; i-- > 0;) ensi_topics_sift(t, order, i, t->count);
    for (size_t n = t->count; n > 1; n--) {
        ensi_topics_swap(order, 0, n - 1);
        ensi_topics_sift(t, order, 0, n - 1);
    }
}

/* Returns the last entry with that key, or NULL. */
static const ensi_topic_entry_t *ensi_topics_find(const ensi_topics_t *t, const uint32_t *order,
                                                  ensign_slice_t key)
{
    size_t low = 0, high = t->count;
    while (low < high) { /* what is below `low` is not above the key */
        size_t middle = low + (high - low) / 2;
        if (ensi_topics_compare(ensi_topics_key(t, order, order[middle]), key) <= 0) low = middle + 1;
        else high = middle;
    }
    if (low == 0 || ensi_topics_compare(ensi_topics_key(t, order, order[low - 1]), key) != 0) return NULL;
    return &t->entries[order[low - 1]];
}

static void ensi_topics_fill(ensi_topics_t *t)
{
    ensign_slice_t map = ensi_slice(t->bytes, t->len), entry, name, id;
    size_t at = 0;
    while (ensi_pb_span_next(map, ENSI_PB_STREAM_READY_TOPICS_TAG, &at, &entry)) {
        ensi_topic_entry_t *e = &t->entries[t->count];
        if (!ensi_topics_entry(entry, &name, &id)) continue;
        e->name_at = (uint32_t)(name.ptr - t->bytes);
        e->name_len = (uint32_t)name.len;
        e->id_at = (uint32_t)(id.ptr - t->bytes);
        t->count++;
    }
    ensi_topics_sort(t, t->by_name);
    ensi_topics_sort(t, t->by_id);
}

/* Makes a block, which is not in the tree yet. */
static bool ensi_topics_build(ensi_topics_t *t, ensi_mem_t *m, ensign_slice_t map)
{
    ensi_topics_t x;
    ensign_slice_t entry, name, id;
    size_t at = 0, count = 0;
    memset(&x, 0, sizeof x);
    while (ensi_pb_span_next(map, ENSI_PB_STREAM_READY_TOPICS_TAG, &at, &entry))
        count += ensi_topics_entry(entry, &name, &id);
    x.block = (ensi_topics_block_t *)ensi_mem_take(
        m, sizeof *x.block + count * (sizeof *x.entries + 2 * sizeof *x.by_name) + map.len);
    if (!x.block) return false;
    x.entries = (ensi_topic_entry_t *)(void *)(x.block + 1);
    x.by_name = (uint32_t *)(void *)(x.entries + count);
    x.by_id = x.by_name + count;
    if (map.len) memcpy(x.by_id + count, map.ptr, map.len);
    x.bytes = (const uint8_t *)(x.by_id + count);
    x.len = map.len;
    ensi_topics_fill(&x);
    memset(x.block, 0, sizeof *x.block);
    x.block->owners = 1;
    x.block->map = *t = x;
    return true;
}

/* The most that a map takes which comes in a message of so many bytes. */
static size_t ensi_topics_bound(size_t message)
{
    return sizeof(ensi_topics_block_t) + ENSI_MEM_HEADER + 2 * message;
}

static bool ensi_topics_same(const ensi_topics_t *t, ensign_slice_t map)
{
    return t->block && ensi_slice_eq(ensi_slice(t->bytes, t->len), map);
}

static bool ensi_topics_id(const ensi_topics_t *t, ensign_slice_t name, ensign_ulid_t *id)
{
    const ensi_topic_entry_t *e = ensi_topics_find(t, t->by_name, name);
    if (e) memcpy(id->b, t->bytes + e->id_at, ENSI_TOPIC_ID_BYTES);
    return e != NULL;
}

/* Empty: the map has no such topic. */
static ensign_slice_t ensi_topics_name(const ensi_topics_t *t, ensign_slice_t id)
{
    const ensi_topic_entry_t *e = ensi_topics_find(t, t->by_id, id);
    return e ? ensi_slice(t->bytes + e->name_at, e->name_len) : ensi_slice(NULL, 0);
}

/* What is always true; for assertions, where a map has come. */
static ENSI_UNUSED bool ensi_topics_holds(const ensi_topics_t *t)
{
    for (size_t i = 1; i < t->count; i++)
        if (!ensi_topics_before(t, t->by_name, t->by_name[i - 1], t->by_name[i]) ||
            !ensi_topics_before(t, t->by_id, t->by_id[i - 1], t->by_id[i]))
            return false;
    return t->count == 0 || t->block;
}

/* Walks the topics of a map, each once; *at is 0 at the start. */
static bool ensi_topics_next(const ensi_topics_t *t, size_t *at, ensign_slice_t *name, ensign_ulid_t *id)
{
    while (*at < t->count) {
        const ensi_topic_entry_t *e = &t->entries[(*at)++];
        *name = ensi_slice(t->bytes + e->name_at, e->name_len);
        if (ensi_topics_find(t, t->by_name, *name) != e) continue; /* a later one of this name counts */
        memcpy(id->b, t->bytes + e->id_at, sizeof id->b);
        return true;
    }
    return false;
}

/* A topic that was asked for, by its name or by its id's text: true, the map lacks it. */
static bool ensi_topics_lacks(const ensi_topics_t *t, ensign_slice_t asked, ensign_slice_t *name,
                              ensign_ulid_t *id)
{
    memset(id, 0, sizeof *id);
    *name = asked;
    if (!ensi_id_of_topic_text(asked, id)) return !ensi_topics_id(t, asked, id);
    *name = ensi_slice(NULL, 0);
    return ensi_topics_name(t, ensi_slice(id->b, sizeof id->b)).len == 0;
}

/* ---- the client's cache of topics: names and ids, the least recently used one goes */

enum { ENSI_TOPIC_NAME_MAX = 512, ENSI_CACHE_MAX = 4096 };

typedef struct ensi_cached_t {
    char *name;
    ensign_ulid_t id;
    uint16_t older, newer;          /* used just before this one, and just after it */
} ensi_cached_t;

/* An entry keeps its place while it lives. The orders are short numbers, so that the cost of keeping them
 * sorted does not show: an insertion moves 8 KiB at most. */
typedef struct ensi_cache_t {
    uint16_t *by_name;              /* places: `count` of them sorted, then the vacant ones. Taken with the
                                     * first topic, and the others behind it */
    uint16_t *by_id;                /* sorted */
    ensi_cached_t *entries;
    uint32_t cap, count;            /* cap 0: off */
    ensi_cached_t ends;             /* place `cap`: no topic; stands between the newest use and the oldest */
} ensi_cache_t;

/* The most that a cache takes. */
static size_t ensi_cache_bound(size_t cap)
{
    return cap * (sizeof(ensi_cached_t) + 2 * sizeof(uint16_t) + ENSI_TOPIC_NAME_MAX + 1 + ENSI_MEM_HEADER);
}

static void ensi_cache_free(ensi_cache_t *t, ensi_mem_t *m)
{
    for (uint32_t i = 0; i < t->count; i++) ensi_mem_free(m, t->entries[t->by_name[i]].name);
    ensi_mem_free(m, t->by_name);
    memset(t, 0, sizeof *t);
}

static bool ensi_cache_open(ensi_cache_t *t, ensi_mem_t *m)
{
    size_t even = t->cap + (t->cap & 1); /* entries are aligned behind the orders */
    if (t->entries || t->cap == 0) return t->entries != NULL;
    t->by_name =
        (uint16_t *)ensi_mem_take(m, even * 2 * sizeof *t->by_name + t->cap * sizeof *t->entries);
    if (!t->by_name) return false;
    t->by_id = t->by_name + t->cap;
    t->entries = (ensi_cached_t *)(void *)(t->by_name + 2 * even);
    for (uint32_t i = 0; i < t->cap; i++) t->by_name[i] = (uint16_t)i;
    t->ends.older = t->ends.newer = (uint16_t)t->cap;
    return true;
}

static ensign_slice_t ensi_cache_key(const ensi_cache_t *t, const uint16_t *order, size_t at)
{
    const ensi_cached_t *x = &t->entries[order[at]];
    return order == t->by_id ? ensi_slice(x->id.b, sizeof x->id.b) : ensign_str(x->name);
}

/* Where the entry with that key stands in an order, or where it would stand. */
static size_t ensi_cache_at(const ensi_cache_t *t, const uint16_t *order, ensign_slice_t key)
{
    size_t low = 0, high = t->count;
    while (low < high) { /* what is below `low` is below the key */
        size_t middle = low + (high - low) / 2;
        if (ensi_topics_compare(ensi_cache_key(t, order, middle), key) < 0) low = middle + 1;
        else high = middle;
    }
    return low;
}

static ensi_cached_t *ensi_cache_look(const ensi_cache_t *t, const uint16_t *order, ensign_slice_t key)
{
    size_t at = ensi_cache_at(t, order, key);
    if (at == t->count || ensi_topics_compare(ensi_cache_key(t, order, at), key) != 0) return NULL;
    return &t->entries[order[at]];
}

static ensi_cached_t *ensi_cache_find(const ensi_cache_t *t, ensign_slice_t name)
{
    return ensi_cache_look(t, t->by_name, name);
}

static ensi_cached_t *ensi_cache_find_id(const ensi_cache_t *t, const uint8_t *id)
{
    return ensi_cache_look(t, t->by_id, ensi_slice(id, ENSI_TOPIC_ID_BYTES));
}

static ensi_cached_t *ensi_cache_place(ensi_cache_t *t, uint16_t place)
{
    return place < t->cap ? &t->entries[place] : &t->ends;
}

/* Takes an entry out of the ring of uses. */
static void ensi_cache_unlink(ensi_cache_t *t, const ensi_cached_t *x)
{
    ensi_cache_place(t, x->older)->newer = x->newer;
    ensi_cache_place(t, x->newer)->older = x->older;
}

/* Puts it there as the one that was used last. */
static void ensi_cache_link(ensi_cache_t *t, ensi_cached_t *x)
{
    uint16_t place = (uint16_t)(x - t->entries);
    x->older = t->ends.older;
    x->newer = (uint16_t)t->cap;
    ensi_cache_place(t, x->older)->newer = t->ends.older = place;
}

static void ensi_cache_use(ensi_cache_t *t, ensi_cached_t *x)
{
    ensi_cache_unlink(t, x);
    ensi_cache_link(t, x);
}

/* Takes the place that stands at `at` out of an order, and puts it behind the last one. */
static void ensi_cache_remove(const ensi_cache_t *t, uint16_t *order, size_t at)
{
    uint16_t place = order[at];
    memmove(order + at, order + at + 1, (t->count - 1 - at) * sizeof *order);
    order[t->count - 1] = place;
}

static void ensi_cache_insert(const ensi_cache_t *t, uint16_t *order, size_t at, uint16_t place)
{
    memmove(order + at + 1, order + at, (t->count - at) * sizeof *order);
    order[at] = place;
}

static void ensi_cache_drop(ensi_cache_t *t, ensi_mem_t *m, ensi_cached_t *x)
{
    if (!x) return;
    ensi_cache_remove(t, t->by_id, ensi_cache_at(t, t->by_id, ensi_slice(x->id.b, sizeof x->id.b)));
    ensi_cache_remove(t, t->by_name, ensi_cache_at(t, t->by_name, ensign_str(x->name)));
    ensi_cache_unlink(t, x);
    ensi_mem_free(m, x->name);
    t->count--;
}

static void ensi_cache_add(ensi_cache_t *t, ensi_mem_t *m, ensign_slice_t name, const uint8_t *id)
{
    uint16_t place = t->by_name[t->count];
    ensi_cached_t *x = &t->entries[place];
    x->name = (char *)ensi_mem_resize(m, NULL, name.len + 1); /* no small block: they are many */
    if (!x->name) return;
    memcpy(x->name, name.ptr, name.len);
    x->name[name.len] = '\0';
    memcpy(x->id.b, id, sizeof x->id.b);
    ensi_cache_insert(t, t->by_name, ensi_cache_at(t, t->by_name, name), place);
    ensi_cache_insert(t, t->by_id, ensi_cache_at(t, t->by_id, ensi_slice(id, sizeof x->id.b)), place);
    ensi_cache_link(t, x);
    t->count++;
}

/* Remembers a topic; without memory it is not remembered, which harms nobody. replace: another one may go. */
static void ensi_cache_put(ensi_cache_t *t, ensi_mem_t *m, ensign_slice_t name, const uint8_t *id,
                           bool replace)
{
    ensi_cached_t *x, *same;
    if (name.len == 0 || name.len > ENSI_TOPIC_NAME_MAX || memchr(name.ptr, 0, name.len)) return;
    if (!ensi_cache_open(t, m)) return;
    x = ensi_cache_find(t, name);
    same = ensi_cache_find_id(t, id);
    if (x && x == same) {
        ensi_cache_use(t, x);
        return;
    }
    ensi_cache_drop(t, m, x);    /* its id is another one now, */
    ensi_cache_drop(t, m, same); /* or its name */
    if (t->count == t->cap && replace) ensi_cache_drop(t, m, ensi_cache_place(t, t->ends.newer));
    if (t->count < t->cap) ensi_cache_add(t, m, name, id);
}

/* The name of an id, into `out` of ENSI_TOPIC_NAME_MAX + 1 bytes; empty: not known. */
static ensign_slice_t ensi_cache_name(ensi_cache_t *t, const uint8_t *id, char *out)
{
    ensi_cached_t *x = ensi_cache_find_id(t, id);
    out[0] = '\0';
    if (!x) return ensi_slice(NULL, 0);
    ensi_cache_use(t, x);
    memcpy(out, x->name, strlen(x->name) + 1);
    return ensign_str(out);
}

/* What a stream's map has, as far as there is room: it can be larger than the cache. Of two that share a name
 * or an id the later counts here too; else a server could have the cache searched for each of very many. */
static void ensi_cache_fill(ensi_cache_t *t, ensi_mem_t *m, const ensi_topics_t *topics)
{
    for (size_t i = 0; i < topics->count && t->count < t->cap; i++) {
        const ensi_topic_entry_t *e = &topics->entries[i];
        ensign_slice_t name = ensi_slice(topics->bytes + e->name_at, e->name_len);
        ensign_slice_t id = ensi_slice(topics->bytes + e->id_at, ENSI_TOPIC_ID_BYTES);
        if (ensi_topics_find(topics, topics->by_name, name) == e &&
            ensi_topics_find(topics, topics->by_id, id) == e)
            ensi_cache_put(t, m, name, id.ptr, false);
    }
}

/* Takes a stream's map. Where another stream has the same one they share it; else what it has goes into the
 * cache too. False: no memory. */
static bool ensi_topics_renew(ensi_topics_t *t, ensi_topics_block_t **root, ensi_cache_t *cache,
                              ensi_mem_t *m, ensign_slice_t map)
{
    ensi_topics_t before = *t;
    ensi_topics_block_t **at;
    uint64_t hash;
    if (ensi_topics_same(t, map)) return true;
    hash = ensi_topics_hash(map);
    at = ensi_topics_place(root, hash);
    if (*at && ensi_topics_same(&(*at)->map, map)) {
        *t = ensi_topics_share(&(*at)->map);
        ensi_topics_free(&before, m);
        return true;
    }
    ensi_topics_free(t, m); /* first: a stream has two maps at most, this one and that of a notice */
    if (!ensi_topics_build(t, m, map)) return false;
    ENSIGN_ASSERT(ensi_topics_holds(t));
    t->block->hash = hash;
    at = ensi_topics_place(root, hash); /* anew: the map that went may have been on the way */
    if (!*at) ensi_topics_attach(t->block, at);
    ensi_cache_fill(cache, m, t);
    return true;
}

/* ---- the lists in a topic's record */

bool ensign_topic_key_next(const ensign_topic_t *t, size_t *at, ensign_slice_t *key)
{
    return ensi_pb_span_next(t->keys, ENSI_PB_DEDUPLICATION_KEYS_TAG, at, key);
}

bool ensign_topic_field_next(const ensign_topic_t *t, size_t *at, ensign_slice_t *field)
{
    return ensi_pb_span_next(t->fields, ENSI_PB_DEDUPLICATION_FIELDS_TAG, at, field);
}

static void ensi_topic_type(ensign_type_t *out, const ensi_pb_type_t *type)
{
    out->name = type->name;
    out->major = type->major_version;
    out->minor = type->minor_version;
    out->patch = type->patch_version;
}

bool ensign_topic_type_next(const ensign_topic_t *t, size_t *at, ensign_type_t *type)
{
    ensign_slice_t bytes;
    ensi_pb_type_t x;
    while (ensi_pb_span_next(t->types, ENSI_PB_TOPIC_TYPES_TAG, at, &bytes)) {
        if (!ensi_pb_decode(ensi_pb_type_fields, &x, bytes.ptr, bytes.len)) continue;
        ensi_topic_type(type, &x);
        return true;
    }
    return false;
}

/* ---- events: from a decoded wrapper to what a user sees */

static ensign_time_t ensi_time_of(bool has, const ensi_pb_timestamp_t *t)
{
    ensign_time_t out;
    out.seconds = has ? t->seconds : 0;
    out.nanos = has ? t->nanos : 0;
    return out;
}

/* The bytes of the submessage `tag` in a message, as they lie there; the last one counts. */
static ensign_slice_t ensi_event_part(ensign_slice_t message, uint32_t tag)
{
    ensi_pb_item_t item;
    ensign_slice_t found = ensi_slice(NULL, 0);
    const uint8_t *at = message.ptr, *end = at ? at + message.len : NULL;
    while (at < end && ensi_pb_item_next(&at, end, &item))
        if (item.tag == tag && item.wire == PB_WT_STRING) found = item.value;
    return found;
}

static void ensi_event_copy_id(uint8_t *out, size_t size, ensign_slice_t id)
{
    if (id.len == size) memcpy(out, id.ptr, size);
}

/* Fills `out`, which is zeroed but for what the caller knows better; `message` is what the wrapper was
 * decoded from: itself where it is bare, else a request or a reply around it. False: the event's own bytes
 * are no Event. */
static bool ensi_event_of(ensign_event_t *out, const ensi_pb_event_wrapper_t *w, ensign_slice_t message,
                          bool bare)
{
    ensi_pb_event_t e;
    if (!ensi_pb_decode(ensi_pb_event_fields, &e, w->event.ptr, w->event.len)) return false;
    out->data = e.data;
    out->metadata = e.metadata;
    out->mimetype = e.mimetype;
    if (e.has_type) ensi_topic_type(&out->type, &e.type);
    out->created = ensi_time_of(e.has_created, &e.created);
    out->key = w->key;
    if (!bare && (w->has_encryption || w->has_compression))
        message = ensi_event_part(message, ENSI_PB_PUBLISHER_REQUEST_EVENT_TAG);
    if (w->has_encryption) out->encryption = ensi_event_part(message, ENSI_PB_EVENT_WRAPPER_ENCRYPTION_TAG);
    if (w->has_compression)
        out->compression = ensi_event_part(message, ENSI_PB_EVENT_WRAPPER_COMPRESSION_TAG);
    ensi_event_copy_id(out->id.b, sizeof out->id.b, w->id);
    ensi_event_copy_id(out->topic_id.b, sizeof out->topic_id.b, w->topic_id);
    if (w->is_duplicate) ensi_event_copy_id(out->duplicate_of.b, sizeof out->duplicate_of.b, w->duplicate_id);
    out->publisher_id = w->publisher.publisher_id;
    out->publisher_client_id = w->publisher.client_id;
    out->publisher_address = w->publisher.ipaddr;
    out->publisher_agent = w->publisher.user_agent;
    out->committed = ensi_time_of(w->has_committed, &w->committed);
    out->offset = w->offset;
    out->epoch = w->epoch;
    return true;
}

/* By nanopb, which knows all of it. */
static bool ensi_event_decode(ensign_event_t *e, ensign_slice_t message, bool bare)
{
    ensi_pb_subscribe_reply_t reply;
    bool good = bare ? ensi_pb_decode(ensi_pb_event_wrapper_fields, &reply.event, message.ptr, message.len)
                     : ensi_pb_decode(ensi_pb_subscribe_reply_fields, &reply, message.ptr, message.len);
    memset(e, 0, sizeof *e);
    return good && ensi_event_of(e, &reply.event, message, bare);
}

/* Reads an event from a SubscribeReply or, where it is `bare`, from an EventWrapper. Slices of `e` point into
 * the message. False: it is not an event. */
static bool ensi_event_read(ensign_event_t *e, ensign_slice_t message, bool bare)
{
    ensign_slice_t wrapper = message;
    memset(e, 0, sizeof *e);
    if ((bare || ensi_wire_wrapped(message, &wrapper)) && ensi_wire_event(wrapper, e)) return true;
    return ensi_event_decode(e, message, bare);
}
#endif /* ENSIGN_NO_SERVICE */

/* >>state   may call: util env handle link h2 grpc auth
 *           open to: ping reopen call query ask pub catchup sub req client create sockets
 * The client's struct, which the objects below and the client itself share
 *
 * Owns   everything: targets, links, connections, traces, queue of calls, auth, handles. Objects (call,
 *        publisher, subscription, query, request) hang on handles; what they do by kind is in a table of
 *        theirs, which only their opener names: a program that opens none of a kind carries none of its code.
 * Holds  an object that has something to do has its stream touched; the pump of client serves it.
 *        A handle whose END is pending ends no other way; it is freed at the pull after END.
 *        A handle's `fault` is the last reason why nothing comes of it, its own or the connection's; what
 *        makes it move again clears it. `noted` marks the last one, `told` the one that WAITING has told. */
enum {                              /* copies of the desc's strings; of a pair the second is auth's */
    ENSI_STR_TOKEN,
    ENSI_STR_ID,
    ENSI_STR_SECRET,
    ENSI_STR_NAME,
    ENSI_STR_CA,
    ENSI_STR_AUTH_CA,
    ENSI_STR_PEM,
    ENSI_STR_AUTH_PEM,
    ENSI_STR_SERVER,
    ENSI_STR_AUTH_SERVER,
    ENSI_STR_AUTHORITY,
    ENSI_STR_CERT,
    ENSI_STR_AUTH_CERT,
    ENSI_STR_CERT_PEM,
    ENSI_STR_AUTH_CERT_PEM,
    ENSI_STR_KEY,
    ENSI_STR_AUTH_KEY,
    ENSI_STR_KEY_PEM,
    ENSI_STR_AUTH_KEY_PEM,
    ENSI_STR_PASSWORD,
    ENSI_STR_AUTH_PASSWORD,
    ENSI_STRS
};

/* What tells a connection that is dead from one that is quiet. Section ping moves it. */
typedef struct ensi_ping_t {
    uint64_t heard_ms;              /* when bytes came last */
    uint64_t sent_ms;               /* when the last PING went */
    bool out;                       /* nothing has come since then */
    bool calmed;                    /* this connection's too_many_pings has been counted */
    uint32_t serial;                /* of the last PING, from 1 on */
    bool timed;                     /* a PING was answered, in trip_ms */
    uint32_t trip_ms;
    uint32_t doubts;                /* PINGs of doubt since HEADERS or DATA came */
    uint32_t late;                  /* deadlines that passed since bytes came */
} ensi_ping_t;

/* A connection to the gRPC server: a link, and the session on it. */
typedef struct ensi_conn_t {
    ensi_h2_t h2;                   /* first: a stream's session is its connection */
    ensi_link_t *link;
    ensi_ping_t ping;
    bool connected;                 /* SETTINGS are in, and it has not ended */
    bool goaway_told;               /* GOAWAY has been acted on */
    bool early_again;               /* GOAWAY came early, and on the connection before this one, too */
    ensi_backoff_t before;          /* the target's failures when this connection was made */
    ensi_timer_t drain;             /* drain_timeout_ms, from GOAWAY on */
    ensign_error_t over;            /* why its last session ended; code 0: as we wanted */
} ensi_conn_t;

/* Where a connection was made to. */
typedef struct ensi_place_t { const char *endpoint; char address[ENSI_ADDRESS_BYTES]; } ensi_place_t;

struct ensign_t {
    ensi_env_t env;                 /* first */
    ensi_target_t rpc_target, auth_target;
    ensi_proxy_t proxy;
    ensi_link_t links[ENSIGN_MAX_LINKS];
    ensi_conn_t conns[2];
    ensi_conn_t *conn;              /* that new calls go out on; the other one drains, or is idle */
    ensi_calls_t calls;
#ifdef ENSIGN_GZIP
    ensi_gzip_t gzip;               /* of all calls */
#endif
    ensi_grpc_common_t common;
    ensi_auth_t auth;
    ensi_handles_t handles;
    ensi_handle_t self;             /* ENSIGN_CLIENT */
    uint64_t probes_told;           /* the requests know of so many of auth's probes */
#ifndef ENSIGN_NO_SERVICE
    ensi_topics_block_t *maps;      /* of the streams: the root of their tree */
    ensi_cache_t cache;
#endif
    char *strings[ENSI_STRS];
    ensi_trace_t *traces;           /* one a link; NULL: no trace hook */
    int io;
    uint32_t connect_timeout_ms, auth_timeout_ms, request_timeout_ms, open_timeout_ms, give_up_after_ms;
    uint32_t drain_timeout_ms, connection_window;
    uint32_t keepalive_ms, keepalive_timeout_ms; /* the first one grows by too_many_pings */
    bool keepalive_all;             /* for the sake of every stream, not of the lasting ones alone */
    uint32_t max_answer_bytes;
    ensign_retry_t retry;           /* no field is 0 */
    ensign_method_t *methods;       /* one block with their strings; no field of a `retry` is 0 */
    size_t method_count;
    ensi_timer_t give_up;
    bool closing, failed, closed;
    uint64_t connects;
    bool last_goaway_early;         /* within backoff_min_ms of its connection, before many answers */
    ensign_error_t last_fault;      /* of the connection to the server */
    uint32_t faults;                /* counts those of the connection, from 1 on */
    uint64_t gate;                  /* of the calls that wait, when they were gone through last */
    ensign_error_t final_error;     /* FAILED's */
    ensign_error_t goaway;          /* that of GOAWAY's notice */
    bool goaway_first;              /* it goes before the DISCONNECTED that is pending */
    ensi_place_t connected, lost;   /* of the notices that are due */
    ensi_place_t shown;             /* of the notice that stands */
    const char *authority;          /* NULL: that of the endpoint */
    char name[27];                  /* a ULID, when the desc gives none */
    const char *stream_name;        /* client_id on streams */
#ifndef ENSIGN_NO_SERVICE
    int64_t stamp_ms;               /* the time of `stamp`; 0: it has none */
    ensi_wire_stamp_t stamp;        /* of an event that is created now */
#endif
    char user_agent[160];
#ifndef ENSIGN_NO_SOCKETS
    ensi_sockets_t sockets;
#endif
};

/* Of a stream that is opened again: when, and how often it failed. Section reopen moves it. */
struct ensi_reopen_t {
    ensi_timer_t timer;             /* to the next attempt */
    ensi_timer_t opening;           /* for the server's first word on a stream */
    ensi_timer_t calm;              /* until the failures before a stream that stands are forgotten */
    ensi_backoff_t backoff;
    uint32_t opens;
    bool parked;                    /* no attempt is made before the owner asks for one */
};

/* What a kind of object does. */
struct ensi_kind_t {
    const char *name;
    bool waits;                                             /* it has WAITING notices */
    bool (*has)(ensi_handle_t *h);                          /* is a notice pending? */
    ensign_notice_t *(*pull)(ensign_t *c, ensi_handle_t *h);
    void (*serve)(ensign_t *c, ensi_handle_t *h);           /* facts or work have come */
    void (*tick)(ensign_t *c, ensi_handle_t *h);            /* a timer of its own may be due */
    uint64_t (*due)(const ensi_handle_t *h);                /* the time of its next timer */
    void (*close)(ensign_t *c, ensi_handle_t *h);           /* begins to end in good order */
    void (*drop)(ensign_t *c, ensi_handle_t *h); /* what was received and not pulled goes; NULL: nothing */
    void (*end)(ensign_t *c, ensi_handle_t *h, const ensign_error_t *why);  /* now */
    void (*free)(ensign_t *c, ensi_handle_t *h);
    bool (*open_next)(const ensi_handle_t *h, int which, size_t *at, ensign_slice_t *name, ensign_ulid_t *id);
};

/* The auth service fails and the client has no token. A renewal that fails while the old token is good holds
 * up nobody. */
static bool ensi_state_no_token(const ensign_t *c)
{
    return c->auth.fault.code != 0 && !c->auth.bearer;
}

/* Returns the fault that keeps the connection down. Returns NULL while it stands, and while no attempt has
 * failed since it ended in good order. */
static const ensign_error_t *ensi_state_link_fault(const ensign_t *c)
{
    bool failing = !c->conn->connected && c->rpc_target.backoff.failures > 0 && c->last_fault.code != 0;
    return failing ? &c->last_fault : NULL;
}

/* Why nothing comes now: the auth service fails, or there is no connection. NULL: neither is known. */
static const ensign_error_t *ensi_state_fault(const ensign_t *c)
{
    if (ensi_state_no_token(c)) return &c->auth.fault;
    return ensi_state_link_fault(c);
}

/* Does this call go out with a token of the client's? */
static bool ensi_state_needs_token(const ensign_t *c, const ensi_call_t *call)
{
    return c->auth.state != ENSI_AUTH_OFF && !call->no_token && !call->own_token;
}

/* Says in words how far the connection is. Returns NULL when it is made. */
static const char *ensi_state_unconnected(const ensi_conn_t *n, char *room, size_t cap)
{
    bool made = n->link->state == ENSI_LINK_RUN;
    if (n->connected && n->h2.settled) return NULL;
    ensi_fmt(room, cap, "waiting for a connection to %s%s", ensi_link_where(n->link),
             made ? ", which takes bytes, but has not spoken HTTP/2 yet: is the port right?" : "");
    return room;
}

/* A call that is on its way waits for its server. */
static const char *ensi_state_unanswered(const ensi_call_t *call, const char *where, char *room, size_t cap)
{
    if (call->s.headers_sent) ensi_fmt(room, cap, "waiting for the server's answer to %s", call->method);
    else ensi_fmt(room, cap, "waiting for %s to take what was sent before", where);
    return room;
}

/* What a call waits for that has no answer yet, in words; `room` is for those that are made here. */
static const char *ensi_state_obstacle(const ensign_t *c, const ensi_call_t *call, char *room, size_t cap)
{
    const ensi_conn_t *n = c->conn;
    const char *unconnected = ensi_state_unconnected(n, room, cap);
    if (call->state == ENSI_GRPC_OPEN)
        return ensi_state_unanswered(call, ensi_link_where(n->link), room, cap);
    if (call->state == ENSI_GRPC_BACKOFF) return call->owner->fault.text;
    if (ensi_state_needs_token(c, call) && !c->auth.bearer)
        return c->auth.fault.code ? c->auth.fault.text : "waiting for a token of the auth service";
    if (ensi_state_link_fault(c)) return c->last_fault.text;
    if (unconnected) return unconnected;
    if (n->h2.draining)
        return "waiting for the running calls to end: the server closes the connection (GOAWAY), and "
               "memory_limit has no room for another one beside it";
    return "waiting for a stream to end: the server allows no more (MAX_CONCURRENT_STREAMS)";
}

/* What a handle waits for, in words: its last fault; else what stands between its call and an answer. NULL:
 * all goes well, as far as is known. */
static const char *ensi_state_reason(const ensign_t *c, const ensi_handle_t *h, char *room, size_t cap)
{
    const ensi_call_t *call = h->call;
    bool waits = call->state == ENSI_GRPC_QUEUED || (call->state == ENSI_GRPC_OPEN && !call->s.headers_done);
    if (h->fault.code) return h->fault.text;
    return waits ? ensi_state_obstacle(c, call, room, cap) : NULL;
}

/* Something to do for this call's object. */
static void ensi_state_touch(ensign_t *c, ensi_call_t *call)
{
    ensi_stream_touch(&call->s);
    ensi_env_work(&c->env);
}

static void ensi_state_ready(ensign_t *c, ensi_handle_t *h, bool has)
{
    if (has) ensi_ready_append(&c->handles, h);
    else ensi_ready_remove(&c->handles, h);
}

/* ---- why nothing comes */

/* Returns the mark of a reason, which is never 0. If the answer is not gRPC, only its HTTP status counts: a
 * proxy's page may show another time or number each time. */
static uint32_t ensi_state_mark(const ensign_error_t *why)
{
    enum { HTTP = 100 };
    bool page = why->code == ENSIGN_E_PROTOCOL && why->native >= HTTP;
    uint32_t mark = 2166136261u ^ (uint32_t)why->code ^ (page ? (uint32_t)why->native << 16 : 0); /* FNV-1a */
    for (const char *p = page ? "" : why->text; *p; p++) mark = (mark ^ (uint8_t)*p) * 16777619u;
    return mark | 1;
}

/* Nothing comes of this handle for now, and this is why. It is logged when it is another reason than the
 * last, and noted when it is another one than the last that was pulled. */
static void ensi_state_waits(ensign_t *c, ensi_handle_t *h, const ensign_error_t *why)
{
    uint32_t mark = ensi_state_mark(why);
    if (h->done) return;
    h->fault = *why;
    if (h->noted == mark) return;
    h->noted = mark;
    ENSI_LOG((&c->env, ENSIGN_LOG_WARNING, "%s %lu waits: %s", h->kind->name, (unsigned long)h->id,
              why->text));
    if (!h->kind->waits) return; /* TIMEOUT's text tells, and REPLY or END */
    if (h->told == mark) h->bits &= ~(uint32_t)ENSI_BIT_WAITING;
    else h->bits |= ENSI_BIT_WAITING;
    if (!h->standing) h->bits &= ~(uint32_t)ENSI_BIT_OPEN; /* else it is true still */
    ensi_state_ready(c, h, h->kind->has(h));
}

/* It moves again. */
static void ensi_state_moves(ensi_handle_t *h)
{
    h->fault.code = 0;
    h->noted = h->told = h->told_gate = 0;
    h->bits &= ~(uint32_t)ENSI_BIT_WAITING;
}

/* Fills a WAITING notice: when the next attempt is, and how many have failed. */
static void ensi_state_fill_waiting(const ensign_t *c, ensi_handle_t *h)
{
    static const ensi_timer_t off = { 0, 0, ENSI_TIMER_OFF };
    const ensi_reopen_t *r = h->reopen;
    ensign_notice_waiting_t *out = &h->notice.as.waiting;
    const ensi_timer_t *const timers[] = { r ? &r->timer : &h->call->again, &c->rpc_target.timer,
                                           ensi_state_no_token(c) ? &c->auth.retry : &off };
    const uint32_t failures[] = { r ? r->backoff.failures : ensi_grpc_failures(h->call),
                                  c->rpc_target.backoff.failures, c->auth.backoff.failures };
    for (size_t i = 0; i < ENSI_COUNT(timers); i++) {
        uint32_t left = ensi_timer_left(timers[i], c->env.now_ms);
        if (left != ENSIGN_FOREVER && left > out->retry_in_ms) out->retry_in_ms = left;
        if (failures[i] > out->failures) out->failures = failures[i];
    }
    if (r && r->parked) out->retry_in_ms = ENSIGN_FOREVER;
}

/* The WAITING notice, if it is pending. */
static ensign_notice_t *ensi_state_pull_waiting(ensign_t *c, ensi_handle_t *h)
{
    ensign_notice_t *n = ensi_notice_bit(h, ENSI_BIT_WAITING, ENSIGN_NOTICE_WAITING);
    if (!n) return NULL;
    h->told = h->noted;
    h->error = h->fault;
    n->error = &h->error;
    ensi_state_fill_waiting(c, h);
    return n;
}

/* ---- handles */

/* The error of a call with a handle that does not live. One that an opener could not make, id 0, keeps the
 * opener's error: a program may open, use and await in a chain, and look at the end. */
static int ensi_state_dead(ensign_t *c, uint32_t id, const char *what)
{
    if (id == 0 && c->env.opening == ENSI_OPENING_FAILED) return c->env.error.code;
    c->env.opening = ENSI_OPENING_NO;
    if (id == 0)
        return ensi_env_fail(&c->env, ENSIGN_E_HANDLE,
                             "handle: 0 is not the id of a %s; did its opener fail?", what);
    return ensi_env_fail(&c->env, ENSIGN_E_HANDLE, "handle: %lu is not the id of a %s, or it has ended",
                         (unsigned long)id, what);
}

/* A handle of this kind that is alive. NULL: *rc is E_HANDLE, or ENDED when its END waits to be pulled. */
static ensi_handle_t *ensi_state_find(ensign_t *c, uint32_t id, const ensi_kind_t *kind, int *rc)
{
    ensi_handle_t *h = ensi_handle_find(&c->handles, id);
    *rc = ENSIGN_OK;
    if (!h || h->kind != kind || h->ended) {
        *rc = ensi_state_dead(c, id, kind->name);
        return NULL;
    }
    if (h->bits & ENSI_BIT_END) {
        *rc = ensi_env_later(
            &c->env, ENSIGN_ENDED,
            "handle: it has ended; pull its last notice, which tells why, and open another one");
        return NULL;
    }
    return h;
}

/* May a new handle be made? */
static int ensi_state_may_open(ensign_t *c)
{
    c->env.opening = ENSI_OPENING_RUNS;
    if (c->failed)
        return ensi_env_fail(&c->env, ENSIGN_E_STATE, "client: it has failed for good: %.180s",
                             c->final_error.text);
    if (c->closing)
        return ensi_env_fail(&c->env, ENSIGN_E_STATE,
                             "client: it is closing; open nothing after ensign_close");
    if (!ensi_handle_room(&c->handles))
        return ensi_env_fail(&c->env, ENSIGN_E_LIMIT,
                             "client: %lu handles are open; end some or raise max_handles",
                             (unsigned long)c->handles.count);
    return ENSIGN_OK;
}

/* A line of the log about a handle's state. */
static void ensi_state_log(ensign_t *c, const ensi_handle_t *h, const char *state, const char *what)
{
    ENSI_LOG((&c->env, ENSIGN_LOG_DEBUG, "%s %lu: %s%s%s", h->kind->name, (unsigned long)h->id, state,
              *what ? " " : "", what));
    (void)c;
    (void)h;
    (void)state;
    (void)what;
}

/* A new handle is there, and the next pump looks at its call. Returns its id. */
static uint32_t ensi_state_add(ensign_t *c, ensi_handle_t *h, const ensi_kind_t *kind, ensi_call_t *call,
                               void *user)
{
    c->env.opening = ENSI_OPENING_NO;
    h->call = call;
    ensi_handle_add(&c->handles, h, kind, user);
    ensi_state_log(c, h, "opened", "");
    ensi_state_touch(c, call);
    return h->id;
}

/* The handle has ended: END becomes pending, `error` tells why (code 0, or NULL: well). */
static void ensi_state_end(ensign_t *c, ensi_handle_t *h, const ensign_error_t *error)
{
    if (h->bits & ENSI_BIT_END) return;
    h->bits |= ENSI_BIT_END;
    h->bits &= ~(uint32_t)(ENSI_BIT_ROOM | ENSI_BIT_WAITING);
    if (error && error->code) h->fault = *error;
    else h->fault.code = 0;
    ensi_handle_done(&c->handles, h);
    ensi_env_work(&c->env); /* it may be the last one that a close waits for */
    ensi_state_log(c, h, h->fault.code ? "ended:" : "ended", h->fault.code ? h->fault.text : "");
}

/* The last notice, of that type. The handle is dead at the next pull. */
static ensign_notice_t *ensi_state_end_notice(ensi_handle_t *h, ensign_notice_type_t type)
{
    ensign_notice_t *n = ensi_notice_bit(h, ENSI_BIT_END, type);
    n->last = true;
    h->ended = true;
    if (h->fault.code != 0) n->error = &h->fault;
    if (type == ENSIGN_NOTICE_END) n->as.end.retry_after_ms = -1;
    return n;
}

/* END, if it is pending: what became of the call counts only where it is why. */
static ENSI_UNUSED ensign_notice_t *ensi_state_pull_end(ensi_handle_t *h, uint64_t count)
{
    ensign_notice_t *n;
    if (!(h->bits & ENSI_BIT_END)) return NULL;
    n = ensi_state_end_notice(h, ENSIGN_NOTICE_END);
    if (n->error) ensi_grpc_end_notice(h->call, n, count);
    n->as.end.count = count;
    return n;
}

/* Fills an OPEN notice: how many topics the stream has, and lacks. */
static ENSI_UNUSED void ensi_state_count_open(const ensi_handle_t *h, ensign_notice_t *n)
{
    ensign_slice_t name;
    ensign_ulid_t id;
    size_t at = 0;
    n->as.open.times = h->reopen->opens;
    while (h->kind->open_next(h, ENSIGN_OPEN_TOPICS, &at, &name, &id)) n->as.open.topics++;
    at = 0;
    while (h->kind->open_next(h, ENSIGN_OPEN_MISSING, &at, &name, &id)) n->as.open.missing++;
}

/* Is a size of a desc within its limits? False: the error names it, what was seen, and what is allowed. */
static bool ensi_state_size(ensign_t *c, const char *who, const char *name, size_t value, size_t min,
                            size_t max)
{
    if (value >= min && value <= max) return true;
    ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT, "%s: %s is %lu, %lu to %lu are allowed", who, name,
                  (unsigned long)value, (unsigned long)min, (unsigned long)max);
    return false;
}

/* ---- calls */

static void ensi_state_free_call(ensign_t *c, ensi_call_t *call)
{
    if (call->state == ENSI_GRPC_QUEUED) ensi_grpc_dequeue(call);
    if (call->state == ENSI_GRPC_OPEN) ensi_h2_reset(&call->s, NGHTTP2_CANCEL);
    if (call->s.list) ensi_stream_untouch(&call->s);
    ensi_grpc_free(call, &c->env.mem);
}

/* UNAUTHENTICATED: the token that went out with the call is of no use, a later one may be. True the first
 * time that this request meets it: once more, with a new token. */
static bool ensi_state_token_again(ensign_t *c, ensi_call_t *call)
{
    if (call->end_status != ENSIGN_GRPC_UNAUTHENTICATED) return false;
    if (call->token != 0 && call->token == c->env.stats.tokens) ensi_auth_reject(&c->auth);
    if (call->refused && call->from_server) return false;
    return call->refused = true;
}

/* A call that the server refused for its token, and that has given nothing yet, is sent again. */
static ENSI_UNUSED bool ensi_call_again(ensign_t *c, ensi_call_t *call)
{
    bool given = call->messages > 0 || (!call->unary && ensi_rx_waiting(&call->s.rx) > 0);
    if (!call->from_server || given || call->drop || !ensi_state_token_again(c, call)) return false;
    ensi_call_rewind(call);
    ensi_grpc_queue(call);
    return true;
}

/* A call that is not open gets no credit, and must not be touched again for want of memory: the pump would
 * never end. */
static void ensi_state_grant(ensign_t *c, ensi_call_t *call)
{
    if (call->state != ENSI_GRPC_OPEN || ensi_h2_grant(&call->s, &c->env.mem)) return;
    ensi_grpc_abort(call, ENSIGN_GRPC_RESOURCE_EXHAUSTED, ENSIGN_E_MEMORY,
                    "memory: no room for the next message; free some or raise memory_limit");
    ensi_state_touch(c, call);
}

/* Credit for what a pull has set free. While a whole message waits, it can come later: once half of the
 * buffer is free, the next pump gives it, unless all is pulled before. */
static ENSI_UNUSED void ensi_state_grant_pulled(ensign_t *c, ensi_call_t *call)
{
    if (!ensi_h2_has_message(&call->s)) ensi_state_grant(c, call);
    else if (ensi_h2_half_free(&call->s)) ensi_state_touch(c, call);
}

/* >>ping   may call: env link h2 state
 * Is the connection alive? Keepalive, and the test of a connection that is in doubt
 *
 * Owns   of each connection to the gRPC server: when bytes came last, and its PING; of that server, over all
 *        connections: keepalive_ms, which too_many_pings doubles.
 * Holds  one PING is out at a time. Whatever comes after it is its answer.
 *        A gRPC server counts a strike for each PING that comes less than 5 minutes after the last one, and
 *        for each without an open stream; at the third it ends the connection. Its own HEADERS and DATA clear
 *        the strikes. So a PING goes only while a stream is open whose HEADERS are out; keepalive leaves
 *        more than 5 minutes between two by default; and two PINGs of doubt are the most until HEADERS or
 *        DATA come.
 *        A deadline tells of itself before its stream is reset: the PING overtakes the RST_STREAM, so the
 *        server reads it while that stream is open. Calls that time out one by one need no other stream.
 *        While calls wait because the server allows no more streams, a silent connection is tested, too. If
 *        no stream is open, a PING may not be sent and no stream can be lost: the connection is made again.
 * Moves  keepalive: nothing has come for keepalive_ms. Doubt: an ack_timeout_ms or open_timeout_ms in which
 *        nothing came, or a second deadline since anything came. PING -> bytes, or keepalive_timeout_ms and
 *        the link ends.
 * Fails  no memory for a PING ends the session, as for every frame. */
enum {
    ENSI_PING_KEEPALIVE_MS = 320000, /* the 5 minutes of gRPC servers, and a margin */
    ENSI_PING_MIN_MS = 1000,
    ENSI_PING_TIMEOUT_MS = 20000,
    ENSI_PING_LATE = 2,              /* deadlines that make a doubt */
    ENSI_PING_DOUBTS = 2             /* PINGs of doubt until HEADERS or DATA come */
};

/* A new connection begins without a history. */
static void ensi_ping_clear(ensi_conn_t *n)
{
    memset(&n->ping, 0, sizeof n->ping);
}

static void ensi_ping_send(ensign_t *c, ensi_conn_t *n)
{
    n->ping.out = true;
    n->ping.sent_ms = c->env.now_ms;
    ensi_h2_ping(&n->h2, ++n->ping.serial);
    ENSI_LOG((&c->env, ENSIGN_LOG_DEBUG, "http2: nothing from %s for %lu ms: PING", ensi_link_where(n->link),
              (unsigned long)(c->env.now_ms - n->ping.heard_ms)));
}

/* ---- doubt */

/* The connection that owes this call an answer. A call that waits for one of its streams counts too, one that
 * waits for a token does not. NULL: none. */
static ensi_conn_t *ensi_ping_debtor(ensign_t *c, const ensi_call_t *call)
{
    bool waits = call->state == ENSI_GRPC_QUEUED && (c->auth.bearer || !ensi_state_needs_token(c, call));
    return waits ? c->conn : (ensi_conn_t *)(void *)call->s.h2;
}

static void ensi_ping_doubt(ensign_t *c, ensi_conn_t *n)
{
    bool stuck = n->link->tx.end > n->link->tx.start; /* it takes no bytes: a PING would not go out */
    if (!n->connected || !n->h2.session || (n->h2.begun == 0 && !stuck)) return;
    if (n->ping.out || n->ping.doubts >= ENSI_PING_DOUBTS) return;
    n->ping.doubts++;
    if (n->h2.begun > 0) ensi_ping_send(c, n);
    else n->ping.out = true, n->ping.sent_ms = c->env.now_ms;
}

/* The deadline of this call has passed; its stream is reset after this. */
static void ensi_ping_late(ensign_t *c, const ensi_call_t *call)
{
    ensi_conn_t *n = ensi_ping_debtor(c, call);
    if (n && ++n->ping.late >= ENSI_PING_LATE) ensi_ping_doubt(c, n);
}

#ifndef ENSIGN_NO_SERVICE
/* This call has had no answer for so long; its stream is reset after this. */
static void ensi_ping_silent(ensign_t *c, const ensi_call_t *call, uint32_t for_ms)
{
    ensi_conn_t *n = ensi_ping_debtor(c, call);
    if (n && n->ping.heard_ms + for_ms <= c->env.now_ms) ensi_ping_doubt(c, n);
}
#endif

/* ---- answers */

/* Too many for the server (gRPC's proposal A8): from now on there are half as many. */
static void ensi_ping_calm(ensign_t *c, ensi_conn_t *n)
{
    const ensi_h2_t *h = &n->h2;
    if (h->goaway_code != NGHTTP2_ENHANCE_YOUR_CALM || strcmp(h->goaway_text, "too_many_pings") != 0) return;
    n->ping.calmed = true;
    if (c->keepalive_ms > ENSIGN_FOREVER / 2) return;
    c->keepalive_ms *= 2;
    ENSI_LOG((&c->env, ENSIGN_LOG_WARNING, "http2: too_many_pings for %s: keepalive_ms is %lu from now on",
              ensi_link_where(n->link), (unsigned long)c->keepalive_ms));
}

/* Bytes have come. */
static void ensi_ping_heard(ensign_t *c, ensi_conn_t *n)
{
    ensi_ping_t *p = &n->ping;
    uint64_t trip_ms = c->env.now_ms - p->sent_ms;
    if (n->h2.ponged != 0 && n->h2.ponged == p->serial) { /* the answer to an earlier PING does not count */
        p->timed = true;
        p->trip_ms = trip_ms < INT32_MAX ? (uint32_t)trip_ms : INT32_MAX;
    }
    n->h2.ponged = 0;
    p->heard_ms = c->env.now_ms;
    p->out = false;
    p->late = 0;
    if (n->h2.answered) p->doubts = 0;
    n->h2.answered = false;
    if (n->h2.draining && !p->calmed) ensi_ping_calm(c, n);
}

/* Returns the round trip of the last PING that was answered, in ms; -1: there was none. */
static int32_t ensi_ping_trip(const ensi_conn_t *n)
{
    return n->ping.timed ? (int32_t)n->ping.trip_ms : -1;
}

/* ---- time */

static uint64_t ensi_ping_after(uint64_t at_ms, uint32_t wait_ms)
{
    return wait_ms == ENSIGN_FOREVER ? UINT64_MAX : at_ms + wait_ms;
}

/* Do calls wait because the server allows no more streams? */
static bool ensi_ping_barred(const ensign_t *c, const ensi_conn_t *n)
{
    return n == c->conn && c->calls.head && !n->h2.draining && !ensi_h2_can_open(&n->h2);
}

/* Returns when the next PING is due, or when the one that is out must have been answered; UINT64_MAX when
 * neither runs. */
static uint64_t ensi_ping_due(const ensign_t *c, const ensi_conn_t *n)
{
    uint32_t streams = c->keepalive_all ? n->h2.begun : n->h2.lasting;
    uint32_t wait_ms = c->keepalive_ms;
    if (!n->connected || !n->h2.session) return UINT64_MAX;
    if (n->ping.out) return ensi_ping_after(n->ping.sent_ms, c->keepalive_timeout_ms);
    if (streams > 0) return ensi_ping_after(n->ping.heard_ms, wait_ms);
    if (!ensi_ping_barred(c, n) || wait_ms == ENSIGN_FOREVER) return UINT64_MAX;
    if (n->h2.begun == 0 || wait_ms < ENSI_PING_KEEPALIVE_MS) wait_ms = ENSI_PING_KEEPALIVE_MS;
    return ensi_ping_after(n->ping.heard_ms, wait_ms);
}

/* Returns whether the link is dead; its fault is set then. */
static bool ensi_ping_tick(ensign_t *c, ensi_conn_t *n)
{
    if (ensi_ping_due(c, n) > c->env.now_ms) return false;
    if (!n->ping.out && n->h2.begun > 0) {
        ensi_ping_send(c, n);
        return false;
    }
    if (!n->ping.out) {
        ensi_link_fault(n->link, ENSIGN_E_STALLED, 0,
                        "http2: %s allows no stream (MAX_CONCURRENT_STREAMS), and sent nothing for %lu ms; a "
                        "new connection is made",
                        ensi_link_where(n->link), (unsigned long)(c->env.now_ms - n->ping.heard_ms));
        return true;
    }
    ensi_link_fault(n->link, ENSIGN_E_STALLED, 0,
                    "http2: %s sent nothing for %lu ms, nor an answer to PING within keepalive_timeout_ms "
                    "(%lu); a new connection is made. On a slow network raise keepalive_timeout_ms",
                    ensi_link_where(n->link), (unsigned long)(c->env.now_ms - n->ping.heard_ms),
                    (unsigned long)c->keepalive_timeout_ms);
    return true;
}

#ifndef ENSIGN_NO_SERVICE
/* >>reopen   may call: util env grpc state ping
 * Streams that are opened again under the same handle: one keeper for all of them
 *
 * Owns   of each publisher, subscription and watch: the timer of the next attempt, that of the server's first
 *        word on a stream (`opening`, open_timeout_ms), the count of failures; of each request the wait
 *        before it is sent again.
 * Holds  failures counts what the server refused or broke off, in a row; a lost connection has a backoff of
 *        its own, and GOAWAY is no failure. It is forgotten when the stream has been of use (an answer, an
 *        event), or has stood for backoff_max_ms (`calm`).
 *        While there are failures the handle's give_up runs; when it is due and no stream stands, the handle
 *        ends.
 * Moves  lost -> timer -> due -> opening -> ready. The owner opens the stream when `timer` is off.
 * Fails  a server that takes the stream and does not answer has it reset, which is a loss like any other.
 *        Each loss is the handle's `fault`, and a WAITING notice where the reason is a new one. */

/* Is this ending of a stream final? Wrong permissions, a limit and the like do not change by themselves. Of a
 * refused token ensi_state_token_again has been asked before: `again`. */
static bool ensi_reopen_final(const ensi_handle_t *h, const ensi_call_t *call, bool again)
{
    bool opened = h->standing;
    if (call->fault.code == ENSIGN_E_TOO_LARGE && !opened) return true; /* the map of topics */
    switch (call->end_status) {
    case ENSIGN_GRPC_PERMISSION_DENIED:
    case ENSIGN_GRPC_UNIMPLEMENTED: return call->from_server;
    case ENSIGN_GRPC_UNAUTHENTICATED: return call->from_server && !again;
    case ENSIGN_GRPC_NOT_FOUND:
    case ENSIGN_GRPC_INVALID_ARGUMENT:
    case ENSIGN_GRPC_FAILED_PRECONDITION: return call->from_server && !opened;
    default: return false;
    }
}

static void ensi_reopen_start(ensi_reopen_t *r, ensign_t *c, ensi_handle_t *h)
{
    uint32_t wait_ms = ensi_backoff_draw(&r->backoff, &c->env);
    ensi_timer_start(&r->timer, wait_ms);
    if (!h->closing)
        ENSI_LOG((&c->env, ENSIGN_LOG_DEBUG, "%s %lu: opens again in %lu ms, failures in a row: %lu",
                  h->kind->name, (unsigned long)h->id, (unsigned long)wait_ms,
                  (unsigned long)r->backoff.failures));
    if (r->backoff.failures && h->give_up.state == ENSI_TIMER_OFF)
        ensi_timer_start(&h->give_up, c->give_up_after_ms);
}

/* The stream has ended, and is to be opened again: at once, or after a backoff of its own. ours: by our wish,
 * which is no failure. */
static void ensi_reopen_lost(ensi_reopen_t *r, ensign_t *c, ensi_handle_t *h, const ensi_call_t *call,
                             bool ours)
{
    ensign_error_t e = call->fault;
    ensi_timer_stop(&r->calm);
    h->standing = false;
    if (!ours && !call->s.lost && e.code != ENSIGN_E_GOAWAY) ensi_backoff_fail(&r->backoff, &c->env);
    ensi_reopen_start(r, c, h);
    if (ours) return;
    if (e.code == 0)
        ensi_fail(&e, ENSIGN_E_CLOSED, 0, "grpc: the server ended %s without an error; it is opened again",
                  call->method);
    if (call->end_status == ENSIGN_GRPC_UNAUTHENTICATED && call->token != 0 &&
        c->auth.state != ENSI_AUTH_FIXED)
        ensi_fail(&e, e.code, e.native, "%.190s; it is opened again with a new token", call->fault.text);
    ensi_state_waits(c, h, &e);
}

/* It cannot be opened now. */
static void ensi_reopen_later(ensi_reopen_t *r, ensign_t *c, ensi_handle_t *h, const char *why)
{
    ensign_error_t e;
    ensi_fail(&e, ENSIGN_E_MEMORY, 0, "%s", why);
    ensi_backoff_fail(&r->backoff, &c->env);
    ensi_reopen_start(r, c, h);
    ensi_state_waits(c, h, &e);
}

/* The stream has been of use. */
static void ensi_reopen_used(ensi_reopen_t *r, ensi_handle_t *h)
{
    r->backoff.failures = 0;
    ensi_timer_stop(&h->give_up);
}

/* The server has answered: the stream stands. */
static void ensi_reopen_ready(ensi_reopen_t *r, ensign_t *c, ensi_handle_t *h, ensi_call_t *call)
{
    h->standing = true;
    r->opens++;
    if (r->backoff.failures) ensi_timer_start(&r->calm, c->env.backoff_max_ms);
    if (r->opens > 1) h->stats.reconnects++;
    ENSI_LOG((&c->env, ENSIGN_LOG_DEBUG, "%s %lu: open, time %lu", h->kind->name, (unsigned long)h->id,
              (unsigned long)r->opens));
    call->refused = false;
    ensi_state_moves(h);
}

static void ensi_reopen_stop(ensi_reopen_t *r, ensi_handle_t *h)
{
    ensi_timer_stop(&r->timer);
    ensi_timer_stop(&r->opening);
    ensi_timer_stop(&r->calm);
    ensi_timer_stop(&h->give_up);
}

/* Lets `opening` run while the server owes its first word; for the end of an owner's serve. */
static void ensi_reopen_watch(ensi_reopen_t *r, ensign_t *c, const ensi_handle_t *h)
{
    bool owes = h->call->state == ENSI_GRPC_OPEN && h->call->s.headers_sent && !h->standing;
    if (!owes) ensi_timer_stop(&r->opening);
    else if (r->opening.state == ENSI_TIMER_OFF) ensi_timer_start(&r->opening, c->open_timeout_ms);
}

/* The server has taken the stream, and said nothing: the owner finds it reset. */
static void ensi_reopen_stalled(ensign_t *c, ensi_handle_t *h)
{
    ensi_ping_silent(c, h->call, c->open_timeout_ms);
    if (h->call->s.deaf && h->call->s.headers_done) ensi_grpc_end_deaf(h->call);
    ensi_grpc_abort(h->call, ENSIGN_GRPC_UNAVAILABLE, ENSIGN_E_STALLED,
                    "%s: the server took %s, and did not answer within open_timeout_ms, %lu; the stream is "
                    "opened again",
                    h->kind->name, h->call->method, (unsigned long)c->open_timeout_ms);
    ensi_state_touch(c, h->call);
}

/* Returns when the next of the keeper's timers is due. */
static uint64_t ensi_reopen_due(const ensi_reopen_t *r)
{
    uint64_t due = ensi_timer_at(&r->timer);
    return ensi_timer_sooner(ensi_timer_sooner(due, &r->opening), &r->calm);
}

/* True: the next attempt is due. */
static bool ensi_reopen_tick(ensi_reopen_t *r, ensign_t *c, ensi_handle_t *h)
{
    if (ensi_timer_due(&r->opening, c->env.now_ms)) ensi_reopen_stalled(c, h);
    if (ensi_timer_due(&r->calm, c->env.now_ms)) ensi_reopen_used(r, h);
    return ensi_timer_due(&r->timer, c->env.now_ms);
}
#endif

/* >>call   may call: util mem env json gzip handle h2 grpc state ping
 *          open to: query
 * Public gRPC calls
 *
 * Owns   the handle of each call that a user opened; what is lent is the message of its last MESSAGE notice;
 *        its attempts, the waits between them, and the bucket of all calls' attempts (`spent`). With
 *        ENSIGN_GZIP also the message that was decompressed, and the place for one that will be compressed.
 * Holds  a unary call has one notice, REPLY, with its answer only when that is known to be the only one and
 *        the status is OK. Its one request half-closes it, at open or, with request_follows, at commit.
 *        An attempt is followed by another one only while nothing of the answer was given, no headers of a
 *        gRPC answer have come, and the request is kept from its first byte.
 *        A message is compressed on its way into the send buffer, and takes the room of its plain bytes there
 *        until then. A message is decompressed when it is about to be given: in a stream at the pull, when
 *        nothing is lent, and that of a unary call at its end, for its status depends on it. Both its forms
 *        stand until it is released.
 * Moves  see grpc; this section turns a call's facts into notices. An attempt that failed: end -> backoff ->
 *        queue.
 * Fails  what is wrong in a desc, or in the order of calls, is refused with nothing done. A message that
 *        cannot be decompressed ends its call: at the pull that should give it, or as REPLY. UNAUTHENTICATED
 *        from the server ends the call; the next one goes out with a new token. */
typedef struct ensi_user_call_t {
    ensi_handle_t h;                /* first */
    ensi_call_t call;
    ensign_retry_t retry;           /* no field is 0 */
    uint32_t draws;                 /* waits drawn since the server said when to come back */
    bool headers_noted;
    bool cut_short;                 /* by ensign_close: what is cut off in the buffer is no fault */
    bool encodes;                   /* the caller may send messages that he has compressed */
    bool decompressed;              /* the message that is lent, or that of a unary call, was compressed */
#ifdef ENSIGN_GZIP
    bool compresses, decompresses;  /* what is sent; what comes */
    ensi_buf_t plain;               /* the message that was decompressed */
    ensi_buf_t raw;                 /* where the caller encodes what is compressed then */
#endif
} ensi_user_call_t;

enum {
    ENSI_RETRY_ATTEMPTS_MAX = 5,
    ENSI_RETRY_WAIT_MAX = 3600000,
    ENSI_RETRY_STATUSES = 0x1FFFE,  /* bits 1 to 16 */
    ENSI_RETRY_SPENT_MAX = 100,     /* all 10 tokens */
    ENSI_RETRY_SPENT_BAR = 50,      /* so much, and no further attempt is made */
    ENSI_RETRY_TOKEN = 10
};

/* Keys that the protocol, or HTTP/2 (RFC 9113, 8.2.2), has for itself. */
static bool ensi_call_is_reserved(const char *key)
{
    static const char *const keys[] = { "te",         "content-type", "user-agent",       "content-length",
                                        "host",       "connection",   "proxy-connection", "transfer-encoding",
                                        "keep-alive", "upgrade" };
    for (size_t i = 0; i < ENSI_COUNT(keys); i++)
        if (strcmp(key, keys[i]) == 0) return true;
    return strncmp(key, "grpc-", 5) == 0;
}

/* The first byte that may not stand in a header's value, or -1. */
static int ensi_call_bad_byte(ensign_slice_t value)
{
    for (size_t i = 0; i < value.len; i++)
        if (value.ptr[i] < 0x20 || value.ptr[i] > 0x7E) return value.ptr[i];
    return -1;
}

/* "Custom-Metadata": keys of [0-9a-z_-.], not ours; values of printable ASCII unless -bin. */
static int ensi_call_check_header(ensign_t *c, const ensign_header_t *m)
{
    static const char chars[] = "abcdefghijklmnopqrstuvwxyz0123456789_-.";
    size_t len = ensign_str(m->key).len;
    if (len == 0 || strspn(m->key, chars) != len)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "metadata: key \"%.60s\" may hold only a-z 0-9 _ - .", m->key ? m->key : "");
    if (ensi_call_is_reserved(m->key))
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "metadata: key \"%.60s\" is the protocol's own; choose another name", m->key);
    if (!ensi_meta_is_binary(ensign_str(m->key)) && ensi_call_bad_byte(m->value) >= 0)
        return ensi_env_fail(
            &c->env, ENSIGN_E_ARGUMENT,
            "metadata: value of \"%.60s\" has byte 0x%02x; only 0x20..0x7e, or a key that ends in -bin",
            m->key, (unsigned)ensi_call_bad_byte(m->value));
    if (!ensi_meta_is_binary(ensign_str(m->key)) && ensi_slice_has_edge(m->value))
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "metadata: value of \"%.60s\" begins or ends with a blank, which HTTP/2 "
                             "forbids; leave it out, or use a key that ends in -bin",
                             m->key);
    return ENSIGN_OK;
}

static size_t ensi_call_value_size(const ensign_header_t *m)
{
    return m->value.len / 3 * 4 + 8; /* base64 is the longer form */
}

/* Bytes of the block that ensi_call_set_metadata makes, at most. */
static size_t ensi_call_extra_size(const ensign_header_t *list, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += ensign_str(list[i].key).len + 5 + ensi_call_value_size(&list[i]);
    return size;
}

/* Copies the metadata into one block: key NUL, length, value, -bin values as base64 without padding. */
static int ensi_call_set_metadata(ensign_t *c, ensi_call_t *call, const ensign_header_t *list, size_t count)
{
    size_t size = ensi_call_extra_size(list, count);
    char *p;
    if (count == 0) return ENSIGN_OK;
    p = call->extra = (char *)ensi_mem_take(&c->env.mem, size);
    if (!p) return ensi_env_memory(&c->env, size);
    for (size_t i = 0; i < count; i++) {
        const ensign_header_t *m = &list[i];
        size_t key = strlen(m->key), len = m->value.len;
        memcpy(p, m->key, key + 1);
        p += key + 1;
        if (ensi_meta_is_binary(ensign_str(m->key)))
            ensi_base64_encode(m->value.ptr, m->value.len, false, p + 4, ensi_call_value_size(m), &len);
        else if (len)
            memcpy(p + 4, m->value.ptr, len);
        ensi_put_be32((uint8_t *)p, (uint32_t)len);
        p += 4 + len;
        if (strcmp(m->key, "authorization") == 0) call->own_token = true;
    }
    call->extra_count = count;
    return ENSIGN_OK;
}

static int ensi_call_check_method(ensign_t *c, const char *method)
{
    const char *p = method;
    while (*p > 0x20 && *p < 0x7F) p++;
    if (method[0] == '/' && strchr(method + 1, '/') && *p == '\0') return ENSIGN_OK;
    return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                         "call: method \"%.80s\" must be \"/package.Service/Method\"", method);
}

static int ensi_call_check_limits(ensign_t *c, const ensi_grpc_opts_t *o)
{
    const size_t max = ENSI_GRPC_BYTES_MAX;
    bool good = ensi_state_size(c, "call", "window_bytes", o->window, 1024, max) &&
                ensi_state_size(c, "call", "send_buffer_bytes", o->out_min, 1, max) &&
                ensi_state_size(c, "call", "max_message_bytes", o->max_message, 1, max) &&
                ensi_state_size(c, "call", "max_send_bytes", o->max_send, 1, max) &&
                ensi_state_size(c, "call", "max_metadata_bytes", o->max_meta, 1, max);
    return good ? ENSIGN_OK : ENSIGN_E_ARGUMENT;
}

static int ensi_call_check_metadata(ensign_t *c, const ensign_call_desc_t *d)
{
    size_t size = ensign_str(d->method).len;
    size_t max = c->conn->h2.header_max / 4 * 3; /* the token comes on top */
    int rc = ENSIGN_OK;
    if (d->metadata_count > ENSI_GRPC_MAX_HEADERS)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT, "call: %lu metadata entries, %d are allowed",
                             (unsigned long)d->metadata_count, ENSI_GRPC_MAX_HEADERS);
    for (size_t i = 0; i < d->metadata_count && rc == ENSIGN_OK; i++)
        rc = ensi_call_check_header(c, &d->metadata[i]);
    if (rc != ENSIGN_OK) return rc;
    for (size_t i = 0; i < d->metadata_count && size <= max; i++)
        size += ensi_call_extra_size(&d->metadata[i], 1) + ENSI_META_OVERHEAD;
    if (size > max)
        return ensi_env_fail(&c->env, ENSIGN_E_TOO_LARGE,
                             "call: method and metadata (with about 40 bytes for each entry) take more than "
                             "the %lu bytes allowed; send less, or raise max_header_bytes",
                             (unsigned long)max);
    return ENSIGN_OK;
}

static int ensi_call_check(ensign_t *c, const ensign_call_desc_t *d, const ensi_grpc_opts_t *o)
{
    int rc = ensi_state_may_open(c);
    if (rc == ENSIGN_OK) rc = ensi_call_check_method(c, o->method);
    if (rc == ENSIGN_OK) rc = ensi_call_check_limits(c, o);
    if (rc == ENSIGN_OK) rc = ensi_call_check_metadata(c, d);
    if (rc != ENSIGN_OK) return rc;
    if (ensi_call_bad_byte(ensign_str(d->encoding)) >= 0 ||
        ensi_call_bad_byte(ensign_str(d->accept_encoding)) >= 0)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "call: encoding and accept_encoding must be printable ASCII, such as \"gzip\"");
    if (ensi_slice_has_edge(ensign_str(d->encoding)) || ensi_slice_has_edge(ensign_str(d->accept_encoding)))
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "call: encoding or accept_encoding begins or ends with a blank; leave it out");
    if (d->request_follows && (!d->unary || d->request.len > 0))
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "call: request_follows is for a unary call without a request in its desc; %s",
                             d->unary ? "leave request empty" : "set unary, or leave it out");
    if (d->compress && !ENSI_HAS_GZIP)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "call: compress needs gzip, which this program leaves out; define ENSIGN_GZIP "
                             "where ENSIGN_IMPLEMENTATION is defined, and link -lz");
    if (d->compress && d->encoding)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "call: compress and encoding are both set; set compress for messages that are "
                             "to be compressed here, encoding for those that you have compressed");
    if (d->request.len > o->max_send)
        return ensi_env_fail(&c->env, ENSIGN_E_TOO_LARGE,
                             "call: the request has %lu bytes, max_send_bytes is %lu",
                             (unsigned long)d->request.len, (unsigned long)o->max_send);
    return ENSIGN_OK;
}

/* Fills each field that is 0 from the other one. */
static ensign_retry_t ensi_call_merge(const ensign_retry_t *own, const ensign_retry_t *other)
{
    ensign_retry_t r;
    r.max_attempts = ensi_or(own->max_attempts, other->max_attempts);
    r.backoff_min_ms = ensi_or(own->backoff_min_ms, other->backoff_min_ms);
    r.backoff_max_ms = ensi_or(own->backoff_max_ms, other->backoff_max_ms);
    r.statuses = ensi_or(own->statuses, other->statuses);
    return r;
}

/* field: what the desc calls it; no field of it is 0. */
static int ensi_call_check_retry(ensign_t *c, const char *who, const char *field, const ensign_retry_t *r)
{
    char name[60];
    ensi_fmt(name, sizeof name, "%s.max_attempts", field);
    if (!ensi_state_size(c, who, name, r->max_attempts, 1, ENSI_RETRY_ATTEMPTS_MAX)) return ENSIGN_E_ARGUMENT;
    ensi_fmt(name, sizeof name, "%s.backoff_min_ms", field);
    if (!ensi_state_size(c, who, name, r->backoff_min_ms, 1, ENSI_RETRY_WAIT_MAX)) return ENSIGN_E_ARGUMENT;
    ensi_fmt(name, sizeof name, "%s.backoff_max_ms", field);
    if (!ensi_state_size(c, who, name, r->backoff_max_ms, 1, ENSI_RETRY_WAIT_MAX)) return ENSIGN_E_ARGUMENT;
    if (r->backoff_min_ms > r->backoff_max_ms)
        return ensi_env_fail(
            &c->env, ENSIGN_E_ARGUMENT,
            "%s: %s.backoff_min_ms is %lu, above backoff_max_ms %lu; lower the one or raise the other", who,
            field, (unsigned long)r->backoff_min_ms, (unsigned long)r->backoff_max_ms);
    if (r->statuses & ~(uint32_t)ENSI_RETRY_STATUSES)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "%s: %s.statuses is 0x%lx; only bits 1 to 16 are allowed, 1u << "
                             "ENSIGN_GRPC_UNAVAILABLE and its like, never that of OK",
                             who, field, (unsigned long)r->statuses);
    return ENSIGN_OK;
}

/* Returns the longest match in the client's `methods`, or NULL. */
static const ensign_method_t *ensi_call_method(const ensign_t *c, const char *method)
{
    const ensign_method_t *best = NULL;
    size_t longest = 0;
    for (size_t i = 0; i < c->method_count; i++) {
        const char *pattern = c->methods[i].method;
        size_t len = strlen(pattern);
        if (len <= longest || strncmp(method, pattern, len) != 0) continue;
        if (pattern[len - 1] != '/' && method[len] != '\0') continue;
        best = &c->methods[i];
        longest = len;
    }
    return best;
}

/* Is what comes compressed ours to decompress? */
static bool ensi_call_decompresses(const ensign_call_desc_t *d)
{
    return ENSI_HAS_GZIP && !d->encoding && !d->accept_encoding;
}

static ensi_grpc_opts_t ensi_call_opts(const ensign_call_desc_t *d)
{
    ensi_grpc_opts_t o;
    memset(&o, 0, sizeof o);
    o.method = d->method ? d->method : "";
    o.encoding = d->compress ? "gzip" : d->encoding;
    o.accept_encoding = d->accept_encoding          ? d->accept_encoding
                        : ensi_call_decompresses(d) ? "gzip,identity"
                                                    : d->encoding;
    o.limit_name = "max_message_bytes";
    o.window = ensi_or(d->window_bytes, 64 * 1024);
    o.max_message = ensi_or(d->max_message_bytes, ENSI_SERVER_MESSAGE_MAX);
    o.out_min = ensi_or(d->send_buffer_bytes, 64 * 1024);
    o.max_send = ensi_or(d->max_send_bytes, ENSI_SERVER_MESSAGE_MAX);
    o.max_meta = ensi_or(d->max_metadata_bytes, ENSI_GRPC_META);
    o.shows_metadata = true;
    o.deadline_ms = ensi_or(d->deadline_ms, ENSIGN_FOREVER);
    return o;
}

size_t ensign_call_memory_bound(const ensign_call_desc_t *d)
{
    ensi_grpc_opts_t o = ensi_call_opts(d);
    size_t extra = ensi_call_extra_size(d->metadata, d->metadata_count), usual = o.window + o.max_message;
    size_t send = ensi_max(o.out_min, o.max_send);
    /* a message that was decompressed; one that is encoded in place before it is compressed */
    size_t gzip = (ensi_call_decompresses(d) ? o.max_message : 0) + (d->compress ? send : 0) +
                  (ENSI_HAS_GZIP ? 2 * (size_t)ENSI_MEM_SMALL : 0);
    /* two receive buffers, when a large message comes behind one that is lent; nghttp2's state of a stream */
    return sizeof(ensi_user_call_t) + usual + ensi_max(o.window, o.max_message) + send + gzip +
           2 * ensi_meta_bound(o.max_meta) + 2 * extra + 8192 + strlen(o.method);
}

/* ---- compression: messages between the caller and the call's buffers */

#ifdef ENSIGN_GZIP
/* A new call learns what it is to do. OK or E_MEMORY: to compress a message needs none later. */
static int ensi_call_set_gzip(ensign_t *c, ensi_user_call_t *u, const ensign_call_desc_t *d)
{
    u->decompresses = ensi_call_decompresses(d);
    u->compresses = d->compress;
    if (d->compress && !ensi_gzip_open(&c->gzip, &c->env.mem)) return ensi_env_memory(&c->env, 0);
    return ENSIGN_OK;
}

static void ensi_call_free_gzip(ensign_t *c, ensi_user_call_t *u)
{
    ensi_mem_free(&c->env.mem, u->plain.ptr);
    ensi_mem_free(&c->env.mem, u->raw.ptr);
}

/* Sees to it that the caller has a place for a message that will be compressed. OK or E_MEMORY. A block that
 * a large message needed is made smaller with the next one. */
static int ensi_call_make_place(ensign_t *c, ensi_user_call_t *u, size_t len)
{
    const size_t cap = ensi_max(len, u->call.out_min);
    uint8_t *p;
    if (!u->compresses || u->raw.cap == cap) return ENSIGN_OK;
    p = (uint8_t *)ensi_mem_resize(&c->env.mem, u->raw.ptr, cap);
    if (!p) return ensi_env_memory(&c->env, cap);
    u->raw.ptr = p;
    u->raw.cap = cap;
    return ENSIGN_OK;
}

/* Where that place is; out: that in the send buffer. */
static uint8_t *ensi_call_place(const ensi_user_call_t *u, uint8_t *out)
{
    return u->compresses ? u->raw.ptr : out;
}

/* Compresses a message to `out`. Returns its length, 0: it is to go as it is. */
static size_t ensi_call_compress(ensign_t *c, const ensi_user_call_t *u, ensign_slice_t message, int flags,
                                 uint8_t *out)
{
    if (!u->compresses || (flags & ENSIGN_UNCOMPRESSED)) return 0;
    return ensi_gzip_compress(&c->gzip, message, out);
}

/* Why a message could not be decompressed. */
static int ensi_call_tell_gzip(ensi_call_t *call, int rc, size_t len, size_t limit, const char *why)
{
    if (rc == ENSIGN_E_MEMORY)
        return ensi_fail(&call->fault, rc, 0,
                         "memory: none to decompress a message of %s; free some or raise memory_limit",
                         call->method);
    if (rc == ENSIGN_E_TOO_LARGE)
        return ensi_fail(&call->fault, rc, 0,
                         "gzip: %s sends a message of %lu bytes that has more than %lu when it is "
                         "decompressed; raise %s",
                         call->method, (unsigned long)len, (unsigned long)limit, call->limit_name);
    return ensi_fail(&call->fault, ENSIGN_E_INTERNAL, 0,
                     "gzip: %s sends a compressed message of %lu bytes that cannot be decompressed: %s",
                     call->method, (unsigned long)len, why);
}

/* Decompresses the message that peek has shown, once: *bytes is that of `plain` then. Nothing may be lent
 * before. < 0: `fault` says why the call must end. */
static int ensi_call_decompress(ensign_t *c, ensi_user_call_t *u, ensign_slice_t *bytes)
{
    const ensi_rx_t *r = &u->call.s.rx;
    const size_t limit = r->limit - ENSI_GRPC_PREFIX;
    const char *why = "";
    int rc = ENSIGN_OK;
    if (!u->decompresses || !ensi_msg_compressed(*bytes)) return ENSIGN_OK;
    if (!u->decompressed)
        rc = ensi_gzip_decompress(&c->gzip, &c->env.mem, *bytes, &u->plain, r->window, limit, &why);
    if (rc != ENSIGN_OK) return ensi_call_tell_gzip(&u->call, rc, bytes->len, limit, why);
    u->decompressed = true;
    *bytes = ensi_slice(u->plain.ptr, u->plain.end);
    return ENSIGN_OK;
}

/* What was lent stands no longer. A large message leaves no large block. */
static void ensi_call_release_gzip(ensign_t *c, ensi_user_call_t *u)
{
    if (u->call.unary) return; /* its one message is yet to be lent */
    u->decompressed = false;
    if (u->plain.cap <= u->call.s.rx.window) return;
    ensi_mem_free(&c->env.mem, u->plain.ptr);
    memset(&u->plain, 0, sizeof u->plain);
}
#else
static int ensi_call_set_gzip(ensign_t *c, ensi_user_call_t *u, const ensign_call_desc_t *d)
{
    (void)c, (void)u, (void)d;
    return ENSIGN_OK;
}

static void ensi_call_free_gzip(ensign_t *c, ensi_user_call_t *u)
{
    (void)c, (void)u;
}

static int ensi_call_make_place(ensign_t *c, ensi_user_call_t *u, size_t len)
{
    (void)c, (void)u, (void)len;
    return ENSIGN_OK;
}

static uint8_t *ensi_call_place(const ensi_user_call_t *u, uint8_t *out)
{
    (void)u;
    return out;
}

static size_t ensi_call_compress(ensign_t *c, const ensi_user_call_t *u, ensign_slice_t message, int flags,
                                 uint8_t *out)
{
    (void)c, (void)u, (void)message, (void)flags, (void)out;
    return 0;
}

static int ensi_call_decompress(ensign_t *c, ensi_user_call_t *u, ensign_slice_t *bytes)
{
    (void)c, (void)u, (void)bytes;
    return ENSIGN_OK;
}

static void ensi_call_release_gzip(ensign_t *c, ensi_user_call_t *u)
{
    (void)c, (void)u;
}
#endif

static void ensi_call_free(ensign_t *c, ensi_handle_t *h)
{
    ensi_user_call_t *u = (ensi_user_call_t *)(void *)h;
    ensi_state_free_call(c, &u->call);
    ensi_call_free_gzip(c, u);
    ensi_mem_free(&c->env.mem, u);
}

/* Puts a message where `out`, in the send buffer, has room for it as it is. A unary call has no other. */
static void ensi_call_put(ensign_t *c, ensi_user_call_t *u, ensign_slice_t message, int flags, uint8_t *out)
{
    size_t len = ensi_call_compress(c, u, message, flags, out);
    if (len == 0 && message.len > 0 && message.ptr != out) memcpy(out, message.ptr, message.len);
    ensi_grpc_commit(&u->call, len ? len : message.len, len ? ENSIGN_COMPRESSED : flags);
    if (u->call.unary) u->call.half_closed = true;
}

static int ensi_call_first(ensign_t *c, ensi_user_call_t *u, const ensign_call_desc_t *d)
{
    uint8_t *out;
    int rc;
    if (d->request_follows || (!d->unary && d->request.len == 0)) return ENSIGN_OK;
    rc = ensi_grpc_reserve(&u->call, d->request.len, &out);
    if (rc != ENSIGN_OK) return ensi_env_memory(&c->env, d->request.len);
    ensi_call_put(c, u, d->request, u->encodes ? ENSIGN_COMPRESSED : 0, out);
    return ENSIGN_OK;
}

/* Is a message to be given now? < 0: it is bad, and the call must end. */
static int ensi_call_message(ensi_user_call_t *u, ensign_slice_t *bytes)
{
    ensi_call_t *call = &u->call;
    *bytes = ensi_slice(NULL, 0);
    if (call->drop || call->unary) return ENSIGN_AGAIN;
    return ensi_msg_peek(call, bytes);
}

static bool ensi_call_has(ensi_handle_t *h)
{
    ensi_user_call_t *u = (ensi_user_call_t *)(void *)h;
    ensign_slice_t bytes;
    if (u->h.ended) return false;
    return u->h.bits != 0 || ensi_call_message(u, &bytes) == ENSIGN_OK;
}

/* ---- ending */

/* What a call that has ended leaves queued is dropped. */
static void ensi_call_drop(ensign_t *c, ensi_handle_t *h)
{
    ensi_user_call_t *u = (ensi_user_call_t *)(void *)h;
    (void)c;
    u->call.drop = true;
    u->h.bits &= ~(uint32_t)ENSI_BIT_HEADERS;
}

/* ---- attempts */

/* Returns how long the next attempt waits: as the server says, else a draw from 0 to a limit that doubles. */
static uint32_t ensi_call_draw(ensi_user_call_t *u)
{
    int64_t told = u->call.pushback_ms;
    uint64_t limit = u->retry.backoff_min_ms;
    if (told >= 0) {
        u->draws = 0;
        return told < ENSIGN_FOREVER ? (uint32_t)told : ENSIGN_FOREVER - 1;
    }
    for (uint32_t i = 0; i < u->draws; i++) limit *= 2; /* fewer than max_attempts */
    if (limit > u->retry.backoff_max_ms) limit = u->retry.backoff_max_ms;
    u->draws++;
    return (uint32_t)(ensi_rng_next(&u->call.env->rng) % (limit + 1));
}

/* Have headers of a gRPC answer come, behind which more may follow? */
static bool ensi_call_begun(const ensi_call_t *call)
{
    return call->s.initial && !call->s.deaf;
}

/* Is this end one that the call's `retry` is for? */
static bool ensi_call_failed(const ensi_user_call_t *u)
{
    const ensi_call_t *call = &u->call;
    if (u->h.done || call->drop || u->retry.max_attempts < 2 || call->end_status == ENSIGN_GRPC_OK)
        return false;
    if (call->fault.code == ENSIGN_E_MEMORY) return false; /* ours, not the server's */
    return call->forbidden || (u->retry.statuses >> call->end_status & 1) != 0;
}

/* Returns why no attempt follows this one, or NULL. */
static const char *ensi_call_final(const ensi_user_call_t *u, uint32_t wait_ms)
{
    const ensi_call_t *call = &u->call;
    if (call->forbidden) return "the server wants no further one (grpc-retry-pushback-ms)";
    if (ensi_call_begun(call)) return "not repeated, for the server's headers had come";
    if (!call->kept) return "not repeated, for the request is more than send_buffer_bytes hold";
    if (call->attempts >= u->retry.max_attempts) return "the last one";
    if (call->all->spent >= ENSI_RETRY_SPENT_BAR) return "not repeated, for too many calls fail";
    if (wait_ms >= ensi_timer_left(&call->deadline, call->env->now_ms))
        return "not repeated, for the deadline comes before";
    return NULL;
}

/* Adds to the last attempt's fault that it was the last, and why. */
static void ensi_call_tell_final(ensi_user_call_t *u, const char *why)
{
    ensign_error_t e = u->call.fault;
    char more[120];
    int len = ensi_fmt(more, sizeof more, "; attempt %lu of %lu: %s", (unsigned long)u->call.attempts,
                       (unsigned long)u->retry.max_attempts, why);
    ensi_fail(&u->call.fault, e.code, e.native, "%.*s%s", (int)sizeof e.text - 1 - len, e.text, more);
}

/* The wire has ended an attempt. True: another one follows after a wait. */
static bool ensi_call_retry(ensign_t *c, ensi_user_call_t *u)
{
    ensi_call_t *call = &u->call;
    ensign_error_t e = call->fault;
    const char *why;
    uint32_t wait_ms;
    if (!ensi_call_failed(u)) return false;
    c->calls.spent = (uint32_t)ensi_min(c->calls.spent + ENSI_RETRY_TOKEN, ENSI_RETRY_SPENT_MAX);
    wait_ms = ensi_call_draw(u);
    why = ensi_call_final(u, wait_ms);
    if (why) {
        ensi_call_tell_final(u, why);
        return false;
    }
    if (call->from_server) (void)ensi_state_token_again(c, call);
    ensi_grpc_pause(call, wait_ms);
    ensi_state_waits(c, &u->h, &e);
    return true;
}

/* Until an answer that is not gRPC has ended another attempt may follow, so its headers are not told. */
static bool ensi_call_undecided(const ensi_user_call_t *u)
{
    return u->call.s.deaf && u->call.state == ENSI_GRPC_OPEN && u->retry.max_attempts > 1;
}

/* A unary call that ended well: exactly one message must be here. */
static void ensi_call_check_unary(ensign_t *c, ensi_user_call_t *u)
{
    ensi_call_t *call = &u->call;
    ensign_slice_t bytes;
    int rc;
    if (!call->unary || call->end_status != ENSIGN_GRPC_OK) return;
    rc = ensi_msg_peek(call, &bytes);
    if (rc == ENSIGN_OK) rc = ensi_call_decompress(c, u, &bytes);
    if (rc == ENSIGN_OK) return;
    call->end_status = rc < 0 ? ensi_grpc_status_of(rc) : ENSIGN_GRPC_INTERNAL;
    if (rc > 0)
        ensi_fail(&call->fault, ENSIGN_E_INTERNAL, 0,
                  "grpc: %s is unary and ended OK, but with no whole answer", call->method);
    call->from_server = false;
    call->drop = true;
}

/* The wire has ended the call; looked at once, before its answer is pulled. */
static void ensi_call_finish(ensign_t *c, ensi_user_call_t *u)
{
    ensi_call_t *call = &u->call;
    if (u->h.done) return;
    if (call->from_server) (void)ensi_state_token_again(c, call);
    ensi_call_check_unary(c, u);
    if (call->end_status == ENSIGN_GRPC_OK) call->fault.code = 0;
    if (call->end_status == ENSIGN_GRPC_OK && c->calls.spent > 0) c->calls.spent--;
    ensi_state_end(c, &u->h, &call->fault);
}

/* What is always true; for assertions. */
static ENSI_UNUSED bool ensi_call_holds(const ensi_user_call_t *u)
{
    bool last = (u->h.bits & ENSI_BIT_END) != 0 || u->h.ended;
    return u->h.done == last && (!last || u->call.state == ENSI_GRPC_ENDED) && ensi_grpc_holds(&u->call);
}

/* Facts have come: turns them into notices. */
static void ensi_call_serve(ensign_t *c, ensi_handle_t *h)
{
    ensi_user_call_t *u = (ensi_user_call_t *)(void *)h;
    ensi_call_t *call = &u->call;

    if (call->state == ENSI_GRPC_ENDED) (void)ensi_call_retry(c, u);
    if (call->s.headers_done && !u->h.done) ensi_state_moves(h);
    if (call->s.initial && !u->headers_noted && !call->drop && !ensi_call_undecided(u)) {
        u->headers_noted = true;
        if (!call->unary) u->h.bits |= ENSI_BIT_HEADERS;
    }
    ensi_msg_inspect(call);
    if (call->state == ENSI_GRPC_ENDED) ensi_call_finish(c, u);
    if (call->room_wanted && !u->h.done && ensi_grpc_has_room(call)) {
        call->room_wanted = 0;
        call->s.watched = false;
        u->h.bits |= ENSI_BIT_ROOM;
    }
    ensi_h2_resume(&call->s);
    ENSIGN_ASSERT(ensi_call_holds(u));
    ensi_state_ready(c, &u->h, ensi_call_has(&u->h));
}

/* ---- notices */

/* END, after the last message. What is left in the buffer was bad, or cut: no status makes that good. */
static ensign_notice_t *ensi_call_pull_end(ensi_user_call_t *u, int rc)
{
    ensi_call_t *call = &u->call;
    ensign_notice_t *n;
    bool whole = call->drop || u->cut_short;
    if (rc == ENSIGN_AGAIN && !whole && call->end_status == ENSIGN_GRPC_OK &&
        ensi_rx_waiting(&call->s.rx) > 0)
        rc =
            ensi_fail(&call->fault, ENSIGN_E_INTERNAL, 0, "grpc: %s ended inside of a message", call->method);
    if (rc < 0 && !whole) {
        call->end_status = ensi_grpc_status_of(rc);
        call->from_server = false;
        u->h.fault = call->fault;
    }
    n = ensi_state_end_notice(&u->h, ENSIGN_NOTICE_END);
    ensi_grpc_end_notice(call, n, call->messages);
    return n;
}

/* The one notice of a unary call. */
static ensign_notice_t *ensi_call_pull_reply(ensign_t *c, ensi_user_call_t *u)
{
    ensi_call_t *call = &u->call;
    ensign_notice_t *n = ensi_state_end_notice(&u->h, ENSIGN_NOTICE_REPLY);
    ensign_notice_reply_t *reply = &n->as.reply;
    reply->status = call->end_status;
    reply->text = call->text;
    reply->details = call->details;
    reply->from_server = call->from_server;
    reply->unprocessed = call->unprocessed && !call->tried;
    reply->retry_after_ms = call->pushback_ms;
    reply->metadata_cut = ensi_grpc_is_cut(call);
    reply->attempts = call->attempts;
    if (call->end_status != ENSIGN_GRPC_OK || call->drop ||
        ensi_msg_peek(call, &reply->message) != ENSIGN_OK) {
        reply->message = ensi_slice(NULL, 0);
        return n;
    }
    reply->decompressed = u->decompressed;
    reply->compressed = !u->decompressed && ensi_msg_compressed(reply->message);
    (void)ensi_call_decompress(c, u, &reply->message); /* it was, at the call's end */
    ensi_msg_lend(call);
    u->h.stats.received++;
    return n;
}

/* Decompresses the next message, if it has to be. < 0: it is bad, and the call has ended. */
static int ensi_call_unpack(ensign_t *c, ensi_user_call_t *u, ensign_slice_t *bytes)
{
    int rc = ensi_call_decompress(c, u, bytes);
    if (rc < 0 && u->call.state == ENSI_GRPC_OPEN) {
        ensi_grpc_abort(&u->call, ensi_grpc_status_of(rc), rc, "%s", u->call.fault.text);
        ensi_state_end(c, &u->h, &u->call.fault);
    }
    return rc;
}

/* Takes the next message: it is lent. False: *n is another notice, or NULL. */
static bool ensi_call_take(ensign_t *c, ensi_user_call_t *u, ensign_slice_t *bytes, ensign_notice_t **n)
{
    ensi_call_t *call = &u->call;
    ensign_slice_t next;
    int rc;

    ensi_msg_release(call);
    ensi_call_release_gzip(c, u);
    ensi_h2_shrink(&call->s, &c->env.mem);
    if ((*n = ensi_state_pull_waiting(c, &u->h)) != NULL) return false;
    if ((*n = ensi_notice_bit(&u->h, ENSI_BIT_HEADERS, ENSIGN_NOTICE_HEADERS)) != NULL) return false;
    if ((*n = ensi_notice_bit(&u->h, ENSI_BIT_ROOM, ENSIGN_NOTICE_ROOM)) != NULL) return false;
    rc = ensi_call_message(u, bytes);
    if (rc == ENSIGN_OK) rc = ensi_call_unpack(c, u, bytes);
    if (rc != ENSIGN_OK) {
        if (u->h.bits & ENSI_BIT_END)
            *n = call->unary ? ensi_call_pull_reply(c, u) : ensi_call_pull_end(u, rc);
        return false;
    }
    ensi_msg_lend(call);
    if (ensi_call_message(u, &next) < 0) ensi_state_touch(c, call); /* the pump ends the call */
    ensi_state_grant_pulled(c, call);
    return true;
}

static ensign_notice_t *ensi_call_pull(ensign_t *c, ensi_handle_t *h)
{
    ensi_user_call_t *u = (ensi_user_call_t *)(void *)h;
    ensign_slice_t bytes;
    ensign_notice_t *n = NULL;
    if (!ensi_call_take(c, u, &bytes, &n)) return n;
    h->stats.received++;
    n = ensi_notice_new(h, ENSIGN_NOTICE_MESSAGE);
    n->as.message.decompressed = u->decompressed;
    n->as.message.compressed = !u->decompressed && ensi_msg_compressed(bytes);
    n->as.message.bytes = bytes;
    return n;
}

/* ---- the table of the kind */

/* The wait before the next attempt is over. */
static void ensi_call_next(ensi_call_t *call)
{
    call->attempts++;
    ensi_grpc_queue(call);
}

static void ensi_call_tick(ensign_t *c, ensi_handle_t *h)
{
    ensi_user_call_t *u = (ensi_user_call_t *)(void *)h;
    ensi_call_t *call = &u->call;
    bool unsent = call->state != ENSI_GRPC_OPEN || !call->s.headers_sent;
    char room[200] = "";
    if (call->state == ENSI_GRPC_ENDED) return;
    if (!ensi_timer_due(&call->deadline, c->env.now_ms)) {
        if (ensi_timer_due(&call->again, c->env.now_ms)) ensi_call_next(call);
        return;
    }
    ensi_ping_late(c, call);
    if (call->s.deaf && call->s.headers_done)
        ensi_fmt(room, sizeof room, "; the answer so far has HTTP status %d and is not gRPC",
                 call->http_status);
    ensi_grpc_abort(call, ENSIGN_GRPC_DEADLINE_EXCEEDED, ENSIGN_E_DEADLINE_EXCEEDED,
                    !unsent              ? "call: the deadline passed%s"
                    : call->attempts > 1 || call->state == ENSI_GRPC_BACKOFF
                        ? "call: the deadline passed before it could be sent again: %.180s"
                        : "call: the deadline passed before it could be sent: %.180s",
                    unsent ? ensi_state_obstacle(c, call, room, sizeof room) : room);
    ensi_call_drop(c, h);
    ensi_state_end(c, h, &call->fault);
    ensi_state_ready(c, h, true);
}

static uint64_t ensi_call_due(const ensi_handle_t *h)
{
    return ensi_timer_sooner(ensi_timer_at(&h->call->deadline), &h->call->again);
}

/* No more messages from us; the server ends the call. A unary call that has its request is half-closed. */
static void ensi_call_close(ensign_t *c, ensi_handle_t *h)
{
    h->call->half_closed = true;
    h->call->room_wanted = 0;
    h->bits &= ~(uint32_t)ENSI_BIT_ROOM;
    ensi_state_touch(c, h->call);
}

static const ensi_kind_t ensi_call_kind = {
    "call", true, ensi_call_has, ensi_call_pull, ensi_call_serve, ensi_call_tick, ensi_call_due,
    ensi_call_close, ensi_call_drop, ensi_state_end, ensi_call_free, NULL
};
static const ensi_kind_t ensi_call_unary_kind = {
    "call", false, ensi_call_has, ensi_call_pull, ensi_call_serve, ensi_call_tick, ensi_call_due,
    ensi_call_close, ensi_call_drop, ensi_state_end, ensi_call_free, NULL
};

/* ---- public */

ensign_call_t ensign_call_open(ensign_t *c, const ensign_call_desc_t *d)
{
    ensign_call_t none = { 0 };
    ensi_grpc_opts_t o = ensi_call_opts(d);
    const ensign_method_t *m = ensi_call_method(c, o.method);
    const ensign_retry_t retry = ensi_call_merge(&d->retry, m ? &m->retry : &c->retry);
    ensi_user_call_t *u;
    int rc;

    if (ensi_call_check(c, d, &o) != ENSIGN_OK) return none;
    if (ensi_call_check_retry(c, "call", "retry", &retry) != ENSIGN_OK) return none;
    if (m && d->deadline_ms == 0) o.deadline_ms = ensi_or(m->deadline_ms, ENSIGN_FOREVER);
    u = (ensi_user_call_t *)ensi_mem_zero(&c->env.mem, sizeof *u);
    if (!u) {
        ensi_env_memory(&c->env, sizeof *u);
        return none;
    }
    rc = ensi_grpc_init(&u->call, &c->env, &c->calls, &u->h, &o);
    u->call.no_token = d->no_token;
    u->call.unary = u->call.s.rx.one = d->unary;
    u->call.wait_for_ready = d->wait_for_ready;
    u->call.attempts = 1;
    u->retry = retry;
    u->encodes = d->encoding && strcmp(d->encoding, "identity") != 0; /* the name of no compression */
    if (rc == ENSIGN_OK) rc = ensi_call_set_metadata(c, &u->call, d->metadata, d->metadata_count);
    if (rc == ENSIGN_OK) rc = ensi_call_set_gzip(c, u, d);
    if (rc == ENSIGN_OK) rc = ensi_call_first(c, u, d);
    if (rc != ENSIGN_OK) {
        ensi_call_free(c, &u->h);
        return none;
    }
    ensi_grpc_queue(&u->call);
    none.id = ensi_state_add(c, &u->h, d->unary ? &ensi_call_unary_kind : &ensi_call_kind, &u->call, d->user);
    return none;
}

/* The call behind a handle, if it can still send. */
static ensi_user_call_t *ensi_call_sender(ensign_t *c, ensign_call_t handle, int *rc)
{
    ensi_handle_t *unary = ensi_handle_find(&c->handles, handle.id);
    const ensi_kind_t *kind = unary && unary->kind == &ensi_call_unary_kind ? unary->kind : &ensi_call_kind;
    ensi_user_call_t *u = (ensi_user_call_t *)(void *)ensi_state_find(c, handle.id, kind, rc);
    if (!u) return NULL;
    if (u->call.state == ENSI_GRPC_ENDED)
        *rc = ensi_env_later(&c->env, ENSIGN_ENDED,
                             "call: it has ended; step, and pull its END, which tells why");
    else if (u->call.half_closed)
        *rc =
            ensi_env_fail(&c->env, ENSIGN_E_STATE,
                          "call: %.80s is half-closed (or unary); nothing more can be sent", u->call.method);
    return *rc == ENSIGN_OK ? u : NULL;
}

/* Room in the send buffer for a message of up to len bytes: *out. */
static int ensi_call_room(ensign_t *c, ensi_user_call_t *u, size_t len, uint8_t **out)
{
    int rc;
    if (len > u->call.max_send)
        return ensi_env_fail(&c->env, ENSIGN_E_TOO_LARGE,
                             "call: a message of %lu bytes, max_send_bytes is %lu", (unsigned long)len,
                             (unsigned long)u->call.max_send);
    rc = ensi_grpc_reserve(&u->call, len, out);
    if (rc == ENSIGN_AGAIN) {
        u->call.room_wanted = len + ENSI_GRPC_PREFIX;
        u->call.s.watched = true;
        ensi_env_later(&c->env, rc,
                       "call: send_buffer_bytes are full of messages that the server has not taken; "
                       "step, pull notices, and send it again at ROOM");
    }
    if (rc == ENSIGN_E_MEMORY) ensi_env_memory(&c->env, len);
    return rc;
}

/* May a message be sent with these? */
static int ensi_call_check_flags(ensign_t *c, const ensi_user_call_t *u, int flags)
{
    if (!(flags & ENSIGN_COMPRESSED)) return ENSIGN_OK;
    if (!u->encodes)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "call: ENSIGN_COMPRESSED needs the desc's `encoding` to name the compression");
    if (flags & ENSIGN_UNCOMPRESSED)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "call: ENSIGN_COMPRESSED and ENSIGN_UNCOMPRESSED exclude each other; pass one");
    return ENSIGN_OK;
}

int ensign_call_reserve(ensign_t *c, ensign_call_t handle, size_t len, uint8_t **out)
{
    int rc;
    ensi_user_call_t *u = ensi_call_sender(c, handle, &rc);
    if (!u) return rc;
    if ((rc = ensi_call_room(c, u, len, out)) != ENSIGN_OK) return rc;
    rc = ensi_call_make_place(c, u, len);
    if (rc == ENSIGN_OK) *out = ensi_call_place(u, *out);
    else u->call.reserved = 0;
    return rc;
}

int ensign_call_commit(ensign_t *c, ensign_call_t handle, size_t len, int flags)
{
    int rc;
    uint8_t *out;
    ensi_user_call_t *u = ensi_call_sender(c, handle, &rc);
    if (!u) return rc;
    if ((rc = ensi_call_check_flags(c, u, flags)) != ENSIGN_OK) return rc;
    if (len >= u->call.reserved)
        return ensi_env_fail(&c->env, ENSIGN_E_STATE,
                             "call: commit of %lu bytes without a reserve for as many before it",
                             (unsigned long)len);
    out = ensi_grpc_space(&u->call);
    ensi_call_put(c, u, ensi_slice(ensi_call_place(u, out), len), flags, out);
    ensi_state_touch(c, &u->call);
    return ENSIGN_OK;
}

int ensign_call_send(ensign_t *c, ensign_call_t handle, ensign_slice_t message, int flags)
{
    int rc;
    uint8_t *out;
    ensi_user_call_t *u = ensi_call_sender(c, handle, &rc);
    if (!u) return rc;
    if ((rc = ensi_call_check_flags(c, u, flags)) != ENSIGN_OK) return rc;
    if ((rc = ensi_call_room(c, u, message.len, &out)) != ENSIGN_OK) return rc;
    ensi_call_put(c, u, message, flags, out);
    ensi_state_touch(c, &u->call);
    return ENSIGN_OK;
}

int ensign_call_half_close(ensign_t *c, ensign_call_t handle)
{
    int rc;
    ensi_user_call_t *u = ensi_call_sender(c, handle, &rc);
    if (!u) return rc;
    ensi_call_close(c, &u->h);
    return ENSIGN_OK;
}

bool ensign_call_metadata_next(const ensign_t *c, ensign_call_t handle, int which, size_t *at,
                               ensign_slice_t *key, ensign_slice_t *value)
{
    const ensi_handle_t *h = ensi_handle_find(&c->handles, handle.id);
    if (!h || (h->kind != &ensi_call_kind && h->kind != &ensi_call_unary_kind)) return false;
    if (which != ENSIGN_HEADERS && which != ENSIGN_TRAILERS) return false;
    return ensi_meta_next(&h->call->meta[which - 1], true, at, key, value);
}

bool ensign_call_metadata_get(const ensign_t *c, ensign_call_t handle, int which, const char *key,
                              ensign_slice_t *value)
{
    size_t at = 0;
    ensign_slice_t name;
    while (ensign_call_metadata_next(c, handle, which, &at, &name, value))
        if (ensi_slice_is(name, key)) return true;
    return false;
}

#ifndef ENSIGN_NO_SERVICE
/* >>query   may call: util mem env pb handle grpc topic state call
 * Queries: rows in place
 *
 * Owns   a call of its own, which it moves as section call does: a row is a message that is lent.
 * Holds  the rows that were not pulled are in the receive buffer, and beyond that at the server.
 * Moves  sent once; once more if the server does not accept the token, which it looks at before anything.
 * Fails  a row that cannot be read is a gap; all else ends the query. */
enum { ENSI_QUERY_BYTES = 4, ENSI_QUERY_STRING = 5 }; /* Parameter's y and s */

typedef struct ensi_query_t {
    ensi_user_call_t u;             /* first */
    ensign_event_t event;
    ensign_ulid_t known_id;         /* whose name `known` is; rows are of one topic mostly */
    bool looked_up;
    char known[ENSI_TOPIC_NAME_MAX + 1];
} ensi_query_t;

/* ---- asking */

static const char *const ensi_query_types[] = { "", "INT", "DOUBLE", "BOOL", "BYTES", "STRING" };

/* The value in the message; an empty one of bytes or text is there by its tag, which nanopb would leave out:
 * *tag is that, else 0. */
static void ensi_query_value(const ensign_param_t *x, ensi_pb_parameter_t *out, uint32_t *tag)
{
    memset(out, 0, sizeof *out);
    *tag = 0;
    out->name = ensign_str(x->name);
    switch (x->type) {
    case ENSIGN_PARAM_INT:
        out->has_i = true;
        out->i = x->as.i;
        break;
    case ENSIGN_PARAM_DOUBLE:
        out->has_d = true;
        out->d = x->as.d;
        break;
    case ENSIGN_PARAM_BOOL:
        out->has_b = true;
        out->b = x->as.b;
        break;
    case ENSIGN_PARAM_BYTES:
        out->y = x->as.bytes;
        if (x->as.bytes.len == 0) *tag = ENSI_QUERY_BYTES;
        break;
    case ENSIGN_PARAM_STRING:
        out->s = ensign_str(x->as.s);
        if (out->s.len == 0) *tag = ENSI_QUERY_STRING;
        break;
    default: break; /* measured, but never sent: ensi_query_check_params refuses it */
    }
}

static size_t ensi_query_param_size(const ensign_param_t *x)
{
    ensi_pb_parameter_t value;
    uint32_t tag;
    size_t size = 0;
    ensi_query_value(x, &value, &tag);
    ensi_pb_size(ensi_pb_parameter_fields, &value, &size);
    return size + (tag ? ensi_pb_bytes_size(tag, 0) : 0);
}

static uint8_t *ensi_query_put_param(uint8_t *p, const ensign_param_t *x)
{
    ensi_pb_parameter_t value;
    uint32_t tag;
    size_t size = ensi_query_param_size(x), len = 0;
    ensi_query_value(x, &value, &tag);
    p = ensi_pb_put_head(p, ENSI_PB_QUERY_PARAMS_TAG, size);
    ensi_pb_encode(ensi_pb_parameter_fields, &value, p, size, &len);
    p += len;
    return tag ? ensi_pb_put_bytes(p, tag, ensi_slice(NULL, 0)) : p;
}

static int ensi_query_check_params(ensign_t *c, const ensign_param_t *params, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (params[i].type < ENSIGN_PARAM_INT || params[i].type > ENSIGN_PARAM_STRING)
            return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                                 "query: parameter %lu has the type %d; use an ENSIGN_PARAM_x",
                                 (unsigned long)i, params[i].type);
        if (ensign_str(params[i].name).len == 0)
            return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT, "query: parameter %lu (%s) has no name",
                                 (unsigned long)i, ensi_query_types[params[i].type]);
    }
    return ENSIGN_OK;
}

/* The Query message of a text and its parameters, which lie in *scratch: the caller frees it, once it is
 * encoded. */
static int ensi_query_message(ensign_t *c, const char *sql, const ensign_param_t *params, size_t count,
                              ensi_pb_query_t *out, uint8_t **scratch)
{
    size_t size = 0, text = ensign_str(sql).len;
    uint8_t *p;
    memset(out, 0, sizeof *out);
    *scratch = NULL;
    if (text == 0) return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT, "query: sql is empty");
    if (ensi_query_check_params(c, params, count) != ENSIGN_OK) return ENSIGN_E_ARGUMENT;
    for (size_t i = 0; i < count && size <= ENSI_SERVER_MESSAGE_MAX; i++)
        size += ensi_pb_bytes_size(ENSI_PB_QUERY_PARAMS_TAG, ensi_query_param_size(&params[i]));
    if (size > ENSI_SERVER_MESSAGE_MAX || text > ENSI_SERVER_MESSAGE_MAX - 16 - size)
        return ensi_env_fail(&c->env, ENSIGN_E_TOO_LARGE,
                             "query: %lu bytes of sql and %lu of parameters; the server takes %d together",
                             (unsigned long)text, (unsigned long)size, ENSI_SERVER_MESSAGE_MAX - 16);
    p = *scratch = (uint8_t *)ensi_mem_take(&c->env.mem, size + 1);
    if (!p) return ensi_env_memory(&c->env, size);
    for (size_t i = 0; i < count; i++) p = ensi_query_put_param(p, &params[i]);
    out->query = ensign_str(sql);
    out->params.ptr = *scratch;
    out->params.len = size;
    return ENSIGN_OK;
}

/* Puts the request into the call's buffer, where it stays until the server has answered. */
static int ensi_query_say(ensign_t *c, ensi_query_t *q, const ensign_query_desc_t *d)
{
    ensi_pb_query_t message;
    uint8_t *scratch, *out;
    size_t size = 0;
    int rc = ensi_query_message(c, d->sql, d->params, d->param_count, &message, &scratch);
    if (rc != ENSIGN_OK) return rc;
    message.include_duplicates = d->include_duplicates;
    rc = ENSIGN_E_MEMORY;
    if (ensi_pb_size(ensi_pb_query_fields, &message, &size) &&
        ensi_grpc_reserve(&q->u.call, size, &out) == ENSIGN_OK &&
        ensi_pb_encode(ensi_pb_query_fields, &message, out, size, &size)) {
        ensi_grpc_commit(&q->u.call, size, 0);
        q->u.call.half_closed = true;
        rc = ENSIGN_OK;
    }
    ensi_mem_free(&c->env.mem, scratch);
    return rc == ENSIGN_OK ? rc : ensi_env_memory(&c->env, size);
}

/* ---- serving, giving rows */

static void ensi_query_serve(ensign_t *c, ensi_handle_t *h)
{
    if (h->call->state == ENSI_GRPC_ENDED && !h->done && ensi_call_again(c, h->call)) return;
    ensi_call_serve(c, h);
}

/* No more rows are asked for; those that are here are still given. */
static void ensi_query_close(ensign_t *c, ensi_handle_t *h)
{
    ensi_query_t *q = (ensi_query_t *)(void *)h;
    ensi_call_t *call = &q->u.call;
    if (h->done) return;
    ensi_grpc_abort(call, ENSIGN_GRPC_OK, ENSIGN_OK, "query: closed");
    call->end_status = ENSIGN_GRPC_OK;
    call->fault.code = 0;
    q->u.cut_short = true;
    ensi_state_end(c, h, NULL);
    ensi_state_ready(c, h, true);
}

static ensign_notice_t *ensi_query_row(ensign_t *c, ensi_query_t *q, ensign_slice_t bytes)
{
    ensi_handle_t *h = &q->u.h;
    ensign_event_t *e = &q->event;
    ensign_notice_t *n;
    if (!ensi_event_read(e, bytes, true)) {
        n = ensi_notice_new(h, ENSIGN_NOTICE_GAP);
        n->as.gap.times = 1;
        ensi_fail(&h->error, ENSIGN_E_FORMAT, 0,
                  "query: a row of %lu bytes cannot be read as an event; it is left out",
                  (unsigned long)bytes.len);
        n->error = &h->error;
        return n;
    }
    if (!q->looked_up || memcmp(q->known_id.b, e->topic_id.b, sizeof e->topic_id.b) != 0) {
        ensi_cache_name(&c->cache, e->topic_id.b, q->known);
        q->known_id = e->topic_id;
        q->looked_up = true;
    }
    e->topic_name = ensign_str(q->known);
    c->env.stats.received++;
    h->stats.received++;
    n = ensi_notice_new(h, ENSIGN_NOTICE_EVENT);
    n->as.event = e;
    return n;
}

static ensign_notice_t *ensi_query_pull(ensign_t *c, ensi_handle_t *h)
{
    ensi_query_t *q = (ensi_query_t *)(void *)h;
    ensign_slice_t bytes;
    ensign_notice_t *n = NULL;
    if (ensi_call_take(c, &q->u, &bytes, &n)) return ensi_query_row(c, q, bytes);
    if (n && n->type == ENSIGN_NOTICE_END) n->as.end.count = h->stats.received; /* without gaps */
    return n;
}

static const ensi_kind_t ensi_query_kind = {
    "query", true, ensi_call_has, ensi_query_pull, ensi_query_serve, ensi_call_tick, ensi_call_due,
    ensi_query_close, ensi_call_drop, ensi_state_end, ensi_call_free, NULL
};

/* ---- public */

static ensign_query_desc_t ensi_query_defaults(const ensign_query_desc_t *d)
{
    ensign_query_desc_t x = *d;
    x.window_bytes = ensi_or(d->window_bytes, 256 * 1024);
    x.max_event_bytes = ensi_or(d->max_event_bytes, 5 * 1024 * 1024);
    x.timeout_ms = ensi_or(d->timeout_ms, ENSIGN_FOREVER);
    return x;
}

size_t ensign_query_memory_bound(const ensign_query_desc_t *d)
{
    ensign_query_desc_t x = ensi_query_defaults(d);
    size_t text = ensign_str(d->sql).len + 64, large = ensi_max(x.window_bytes, x.max_event_bytes);
    for (size_t i = 0; i < d->param_count; i++)
        text += ensi_pb_bytes_size(ENSI_PB_QUERY_PARAMS_TAG, ensi_query_param_size(&d->params[i]));
    /* two receive buffers, when a large row comes behind one that is lent, and one kept; the request, encoded
     * twice; metadata, nghttp2's of a stream */
    return sizeof(ensi_query_t) + 2 * (large + ENSI_GRPC_PREFIX) + x.window_bytes + 2 * text +
           ensi_meta_bound(ENSI_GRPC_META) + 8192 + 512;
}

static int ensi_query_check(ensign_t *c, const ensign_query_desc_t *x)
{
    int rc = ensi_state_may_open(c);
    if (rc != ENSIGN_OK) return rc;
    return ensi_state_size(c, "query", "window_bytes", x->window_bytes, 1024, ENSI_GRPC_BYTES_MAX) &&
                   ensi_state_size(c, "query", "max_event_bytes", x->max_event_bytes, 1024,
                                   ENSI_GRPC_BYTES_MAX)
               ? ENSIGN_OK
               : ENSIGN_E_ARGUMENT;
}

ensign_query_t ensign_query_open(ensign_t *c, const ensign_query_desc_t *d)
{
    ensign_query_t none = { 0 };
    ensign_query_desc_t x = ensi_query_defaults(d);
    ensi_grpc_opts_t o;
    ensi_query_t *q;
    int rc;

    if (ensi_query_check(c, &x) != ENSIGN_OK) return none;
    o = ensi_grpc_opts("/ensign.v1beta1.Ensign/EnSQL", x.window_bytes, x.max_event_bytes, "max_event_bytes",
                       1);
    o.deadline_ms = x.timeout_ms;
    q = (ensi_query_t *)ensi_mem_zero(&c->env.mem, sizeof *q);
    if (!q) {
        ensi_env_memory(&c->env, sizeof *q);
        return none;
    }
    rc = ensi_grpc_init(&q->u.call, &c->env, &c->calls, &q->u.h, &o);
    q->u.call.wait_for_ready = true;
    q->u.headers_noted = true; /* there is no HEADERS notice of a query */
    if (rc == ENSIGN_OK) rc = ensi_query_say(c, q, &x);
    if (rc != ENSIGN_OK) {
        ensi_call_free(c, &q->u.h);
        return none;
    }
    ensi_grpc_queue(&q->u.call);
    none.id = ensi_state_add(c, &q->u.h, &ensi_query_kind, &q->u.call, x.user);
    return none;
}

/* >>ask   may call: util mem pb id h2 grpc state ping
 *         open to: pub sub req
 * One unary question to the service, for the objects below
 *
 * Owns   nothing beyond its call, which is used again for the next question.
 * Holds  the request stays in the send buffer until the answer is there: it is sent once more, with a new
 *        token, when the server does not accept the first. The answer stands in the receive buffer until the
 *        next question.
 * Fails  `call.fault` says why, `call.end_status` and `call.from_server` who, ensi_ask_cut whether it was the
 *        way to the server: then the owner may ask again, after a backoff. */
enum {
    ENSI_ASK_METHOD = 64,           /* bytes; no method of the service is longer */
    ENSI_ASK_SMALL = 8 * 1024,      /* of an answer about one topic */
    ENSI_ASK_WINDOW = 16 * 1024,
    ENSI_ASK_OUT = 1024
};

typedef struct ensi_ask_t { ensi_call_t call; } ensi_ask_t;

/* The usual size of the receive buffer, for answers of up to so many bytes. */
static size_t ensi_ask_window(size_t max_answer)
{
    return ensi_min(max_answer, ENSI_ASK_WINDOW);
}

/* A zeroed one becomes fit for use. */
static int ensi_ask_init(ensign_t *c, ensi_ask_t *a, ensi_handle_t *owner, size_t max_answer)
{
    char room[ENSI_ASK_METHOD];
    ensi_grpc_opts_t o;
    int rc;
    memset(room, ' ', sizeof room - 1); /* the call's block of strings is as long as this */
    room[sizeof room - 1] = '\0';
    o = ensi_grpc_opts(room, ensi_ask_window(max_answer), max_answer, "max_answer_bytes", ENSI_ASK_OUT);
    rc = ensi_grpc_init(&a->call, &c->env, &c->calls, owner, &o);
    a->call.unary = a->call.s.rx.one = a->call.wait_for_ready = true;
    return rc;
}

/* Room for a request of up to `cap` bytes; what stands lent in the receive buffer stays. NULL: no memory, and
 * `call.fault` says so. */
static uint8_t *ensi_ask_begin(ensi_ask_t *a, const char *method, size_t cap)
{
    ensi_call_t *call = &a->call;
    uint8_t *out;
    ensi_call_rewind(call);
    call->messages = 0;
    call->refused = false;
    ensi_fmt(call->method, ENSI_ASK_METHOD, "%s", method);
    if (ensi_call_restart(call, cap, &out) == ENSIGN_OK) return out;
    call->end_status = ENSIGN_GRPC_RESOURCE_EXHAUSTED;
    call->from_server = false;
    ensi_fail(&call->fault, ENSIGN_E_MEMORY, 0,
              "memory: no %lu bytes for %s; free some or raise memory_limit", (unsigned long)cap, method);
    return NULL;
}

static void ensi_ask_send(ensi_ask_t *a, size_t len, const ensi_timer_t *deadline)
{
    ensi_grpc_commit(&a->call, len, 0);
    a->call.half_closed = true;
    a->call.deadline = *deadline;
    ensi_grpc_queue(&a->call);
}

/* An OK without a message that is one: what the server said is no answer. */
static int ensi_ask_bad(ensi_ask_t *a)
{
    ensi_call_t *call = &a->call;
    call->end_status = ENSIGN_GRPC_INTERNAL;
    call->from_server = false;
    return ensi_fail(&call->fault, ENSIGN_E_INTERNAL, 0,
                     "request: %s answers OK, but without a message that is an answer", call->method);
}

/* OK: the answer, which stands; AGAIN: not yet; < 0: there will be none. */
static int ensi_ask_answer(ensign_t *c, ensi_ask_t *a, ensign_slice_t *bytes)
{
    ensi_call_t *call = &a->call;
    int rc;
    ensi_msg_inspect(call);
    if (call->state != ENSI_GRPC_ENDED || ensi_call_again(c, call)) return ENSIGN_AGAIN;
    if (call->end_status != ENSIGN_GRPC_OK)
        return call->fault.code < 0 ? call->fault.code : ENSIGN_E_INTERNAL;
    rc = ensi_msg_peek(call, bytes);
    if (rc > 0) return ensi_ask_bad(a);
    if (rc < 0) call->end_status = ensi_grpc_status_of(rc);
    return rc;
}

/* Did the call end because the way to the server failed? Then the server has not answered. A call whose
 * headers cannot be sent is not meant: it would fail again. */
static bool ensi_ask_cut(const ensi_ask_t *a)
{
    const ensi_call_t *call = &a->call;
    bool tried = call->s.lost || call->s.headers_sent || call->s.close_code == NGHTTP2_REFUSED_STREAM;
    return call->state == ENSI_GRPC_ENDED && !call->from_server && tried &&
           call->end_status == ENSIGN_GRPC_UNAVAILABLE;
}

/* Gives bytes and credit on; for the end of an owner's serve. */
static void ensi_ask_move_on(ensign_t *c, ensi_ask_t *a)
{
    ensi_state_grant(c, &a->call);
    ensi_h2_resume(&a->call.s);
}

/* ---- of publishers and subscriptions: is a topic there, or else make it */

/* One that is made when it is first used. */
typedef struct ensi_asker_t {
    ensi_ask_t *ask;
    bool asking;
    ensi_timer_t timer;             /* for the answer; while none is awaited it is the owner's */
} ensi_asker_t;

/* NULL: no memory. */
static ensi_ask_t *ensi_asker_open(ensign_t *c, ensi_asker_t *x, ensi_handle_t *owner)
{
    if (x->ask) return x->ask;
    x->ask = (ensi_ask_t *)ensi_mem_zero(&c->env.mem, sizeof *x->ask);
    if (x->ask && ensi_ask_init(c, x->ask, owner, ENSI_ASK_SMALL) == ENSIGN_OK) return x->ask;
    if (x->ask) ensi_grpc_free(&x->ask->call, &c->env.mem);
    ensi_mem_free(&c->env.mem, x->ask);
    x->ask = NULL;
    return NULL;
}

static void ensi_asker_free(ensign_t *c, ensi_asker_t *x)
{
    if (x->ask) ensi_state_free_call(c, &x->ask->call);
    ensi_mem_free(&c->env.mem, x->ask);
}

/* The most that such a one takes. */
enum {
    ENSI_ASK_BOUND = (int)sizeof(ensi_ask_t) + 2 * ENSI_ASK_SMALL + 2 * ENSI_ASK_OUT +
                     2 * ENSI_GRPC_META + ENSI_META_TEXT + ENSI_MEM_HEADER
};

/* False: no memory. */
static bool ensi_asker_send(ensign_t *c, ensi_asker_t *x, ensi_handle_t *owner, const char *method,
                            const pb_msgdesc_t *fields, const void *message)
{
    ensi_ask_t *a = ensi_asker_open(c, x, owner);
    size_t size = 0;
    uint8_t *out = a && ensi_pb_size(fields, message, &size) ? ensi_ask_begin(a, method, size) : NULL;
    ensi_timer_stop(&x->timer);
    x->asking = out && ensi_pb_encode(fields, message, out, size, &size);
    if (!x->asking) return false;
    ensi_timer_start(&x->timer, c->request_timeout_ms);
    ensi_ask_send(a, size, &x->timer);
    return true;
}

static bool ensi_asker_create(ensign_t *c, ensi_asker_t *x, ensi_handle_t *owner, ensign_slice_t name)
{
    ensi_pb_topic_t t;
    memset(&t, 0, sizeof t);
    t.name = name;
    return ensi_asker_send(c, x, owner, "/ensign.v1beta1.Ensign/CreateTopic", ensi_pb_topic_fields, &t);
}

/* By its name or, where that is empty, by its id. */
static bool ensi_asker_exists(ensign_t *c, ensi_asker_t *x, ensi_handle_t *owner, ensign_slice_t name,
                              const ensign_ulid_t *id)
{
    ensi_pb_topic_name_t t;
    char text[27];
    memset(&t, 0, sizeof t);
    ensign_ulid_text(*id, text);
    t.name = name;
    if (name.len == 0) t.topic_id = ensign_str(text);
    return ensi_asker_send(c, x, owner, "/ensign.v1beta1.Ensign/TopicExists", ensi_pb_topic_name_fields, &t);
}

/* The answer, once; AGAIN: none is awaited, or it is not here yet. */
static int ensi_asker_answer(ensign_t *c, ensi_asker_t *x, ensign_slice_t *bytes)
{
    int rc = x->asking ? ensi_ask_answer(c, x->ask, bytes) : ENSIGN_AGAIN;
    if (rc == ENSIGN_AGAIN) return rc;
    x->asking = false;
    ensi_timer_stop(&x->timer);
    return rc;
}

/* Ends a question whose time is up. */
static void ensi_asker_late(ensign_t *c, ensi_asker_t *x, const char *what)
{
    char room[200];
    if (!x->asking) return;
    ensi_ping_late(c, &x->ask->call);
    ensi_grpc_abort(&x->ask->call, ENSIGN_GRPC_DEADLINE_EXCEEDED, ENSIGN_E_DEADLINE_EXCEEDED, "%s: %.170s",
                    what, ensi_state_obstacle(c, &x->ask->call, room, sizeof room));
}

static void ensi_asker_drop(ensi_asker_t *x)
{
    if (x->asking)
        ensi_grpc_abort(&x->ask->call, ENSIGN_GRPC_CANCELLED, ENSIGN_E_CANCELLED, "asked for no more");
    x->asking = false;
    ensi_timer_stop(&x->timer);
}

/* >>pub   may call: util mem env pb wire id handle h2 grpc topic state ping reopen ask
 * Publishers: the ring, acks, resends
 *
 * Owns   each publisher's ring of framed events and the array of their headers, oldest first, from publish
 *        to the pulled answer.
 * Holds  freed <= freeable, and freeable, pulled <= done <= sent <= resolved <= put: counts of events, 64
 *        bits, never wrapped.
 *        put - done < 16384 (max_in_flight), or the server drops acks in silence.
 *        The bytes of an event never move while it is in the ring, nor change after its first send: a resend
 *        is a second read.
 *        local_id is a nonce and the event's count, so that an answer finds its entry by subtraction.
 * Moves  put: publish. resolved: the topic's id is patched in; that of the publisher's own topic is looked up
 *        once a stream. sent: all bytes handed to h2. done: answered, without a hole. freed: bytes given back
 *        (an acked event's at once, a nacked one's when its notice is released; `freeable` is what `freed`
 *        will be when the NACK that stands is). pulled: notice given.
 *        Answers are given in the order in which they came: they form a list through the headers, so
 *        that one which overtakes thousands of older events costs as much as any other.
 *        A topic that the stream's map lacks holds up `resolved` until it is known to be there: then the map
 *        is `stale`, the stream ends as by GOAWAY and is opened again. `fresh`: events below were accepted
 *        before the stream opened, so its map says all about them.
 *        Stream lost: sent = done, and what had been sent whole is marked `unanswered`; at_most_once nacks
 *        it. When and how often a stream is opened again is for section reopen. Parked: the server opens no
 *        stream, as the project has no topics; what waits is nacked, and the next event asks again. `state`
 *        is assigned by ensi_pub_move alone.
 *        ack_timer runs while the server owes something: an answer, room for more bytes, the end. Of `ready`
 *        section reopen has the timer.
 * Fails  ring or header array full: AGAIN. An answer to an event that was not sent on this stream ends the
 *        stream, not the client. */
typedef enum {
    ENSI_PUB_WAIT,                  /* no stream; the reopen timer may run */
    ENSI_PUB_OPENING,               /* queued, or open_stream is sent */
    ENSI_PUB_READY,
    ENSI_PUB_DRAINING,              /* GOAWAY, or a stale map: nothing new is sent here */
    ENSI_PUB_HALF,                  /* half-closed; what was sent here is answered */
    ENSI_PUB_ENDED, ENSI_PUB_STATES
} ensi_pub_state_t;
typedef enum {
    ENSI_PUB_ON_OPEN,
    ENSI_PUB_ON_READY,
    ENSI_PUB_ON_DRAIN,
    ENSI_PUB_ON_HALF,
    ENSI_PUB_ON_LOST,
    ENSI_PUB_ON_END,
    ENSI_PUB_INPUTS
} ensi_pub_in_t;

static const ensi_move_t ensi_pub_moves[] = {
    { ENSI_PUB_WAIT,     ENSI_PUB_ON_OPEN,   ENSI_PUB_OPENING  },
    { ENSI_PUB_WAIT,     ENSI_PUB_ON_END,    ENSI_PUB_ENDED    },
    { ENSI_PUB_OPENING,  ENSI_PUB_ON_READY,  ENSI_PUB_READY    },
    { ENSI_PUB_OPENING,  ENSI_PUB_ON_LOST,   ENSI_PUB_WAIT     },
    { ENSI_PUB_OPENING,  ENSI_PUB_ON_END,    ENSI_PUB_ENDED    },
    { ENSI_PUB_READY,    ENSI_PUB_ON_DRAIN,  ENSI_PUB_DRAINING },
    { ENSI_PUB_READY,    ENSI_PUB_ON_HALF,   ENSI_PUB_HALF     },
    { ENSI_PUB_READY,    ENSI_PUB_ON_LOST,   ENSI_PUB_WAIT     },
    { ENSI_PUB_READY,    ENSI_PUB_ON_END,    ENSI_PUB_ENDED    },
    { ENSI_PUB_DRAINING, ENSI_PUB_ON_HALF,   ENSI_PUB_HALF     },
    { ENSI_PUB_DRAINING, ENSI_PUB_ON_LOST,   ENSI_PUB_WAIT     },
    { ENSI_PUB_DRAINING, ENSI_PUB_ON_END,    ENSI_PUB_ENDED    },
    { ENSI_PUB_HALF,     ENSI_PUB_ON_LOST,   ENSI_PUB_WAIT     },
    { ENSI_PUB_HALF,     ENSI_PUB_ON_END,    ENSI_PUB_ENDED    },
};

enum {
    ENSI_PUB_IN_FLIGHT_MAX = 16383, ENSI_PUB_LOCAL_ID = ENSI_WIRE_LOCAL_ID, ENSI_PUB_TEXTS = 8,
    ENSI_PUB_OPEN_BYTES = 1024,     /* of the send buffer, for open_stream */
    ENSI_PUB_OPEN_ROOM = 1024 - 5,  /* of them for the message */
    ENSI_PUB_PARTING_MS = 1000,     /* how long a publisher waits for END on a draining connection */
    ENSI_PUB_UNKNOWN_MS = 1000,     /* so long a name that was not there is not asked for again */
    ENSI_PUB_ASKS = 5               /* failing in a row: the event is nacked; where the way to the server is
                                     * what fails, once request_timeout_ms are over, too */
};

typedef enum { ENSI_ENTRY_WAITING, ENSI_ENTRY_SENT, ENSI_ENTRY_ACKED, ENSI_ENTRY_NACKED } ensi_entry_state_t;

typedef struct ensi_entry_t {       /* 40 bytes an event */
    uint64_t tag;
    int64_t  seconds;               /* of the commit */
    uint32_t at, len;               /* in the ring: prefix and message; the topic's name lies behind them */
    int32_t  nanos;
    int32_t  code;                  /* of a nack */
    uint16_t name_len;              /* 0: published with an id, or to the publisher's topic */
    uint16_t next;                  /* the answer that came after this one: low bits of its count */
    uint8_t  state;                 /* ensi_entry_state_t; SENT: the whole of it, on some stream */
    uint8_t  stored;                /* of a nack: ensign_stored_t */
    bool     own_topic : 1;         /* the publisher's topic is meant */
    bool     given : 1;             /* its notice was pulled */
    bool     unanswered : 1;        /* a stream that had the whole of it ended without an answer */
} ensi_entry_t;

typedef struct ensi_nack_text_t { uint64_t count; char text[120]; } ensi_nack_text_t;

typedef struct ensi_pub_t {
    ensi_handle_t h;                /* first */
    ensi_call_t call;
    ensi_pub_state_t state;
    char *topic;                    /* "" none */
    bool at_most_once, quiet_acks, drain_asked;
    bool heard;                     /* an event was answered by what was received just now */
    uint32_t buffer_bytes, max_event_bytes, max_reply_bytes, max_in_flight, ack_timeout_ms;
    uint8_t *ring;
    size_t cap, tail;
    uint32_t mask;                  /* of the ring of entries */
    ensi_entry_t *entries;
    uint64_t put, resolved, sent, done, freeable, freed, pulled;
    uint64_t lent;                  /* whose NACK notice stands; UINT64_MAX: none */
    uint64_t first, last;           /* of the answers that were not given yet, as they came */
    uint32_t answers;               /* how many these are */
    size_t partial;                 /* bytes of entry `sent` that are handed over already */
    size_t room_wanted;             /* what was refused with AGAIN; 0: nothing */
    uint64_t nonce, drain_left;
    ensi_topics_t topics;
    ensi_topics_t told;             /* the map that an OPEN notice stands for */
    bool ensure_topic;
    bool stale;                     /* there is a topic that `topics` lacks: another stream is wanted */
    bool own_by_id;                 /* `topic` is a ULID: own_id */
    ensign_ulid_t own_id;
    bool own_known;                 /* this stream's map has `topic`, as own_in_map */
    ensign_ulid_t own_in_map;
    uint64_t fresh;
    uint64_t made;                  /* the event whose topic was made last, counted from 1 */
    ensi_asker_t asker;             /* asks after the topic of event `resolved`; its timer runs also between
                                     * two questions that failed */
    ensi_backoff_t ask_backoff;
    uint8_t unknown[ENSI_ID_HASH];  /* a topic that was asked for and is not there; so for unknown_timer */
    ensi_timer_t unknown_timer;
    ensi_timer_t ack_timer, drain_timer;
    ensi_reopen_t reopen;
    ensi_nack_text_t texts[ENSI_PUB_TEXTS];     /* the server's words for the latest nacks */
    ensign_event_t event;           /* of a NACK notice */
} ensi_pub_t;

static bool ensi_pub_move(ensi_pub_t *p, ensi_pub_in_t in)
{
    int to = ensi_move(ensi_pub_moves, ENSI_COUNT(ensi_pub_moves), (int)p->state, (int)in);
    if (to < 0) return false;
    p->state = (ensi_pub_state_t)to;
    return true;
}

static ensi_entry_t *ensi_pub_entry(const ensi_pub_t *p, uint64_t count)
{
    return &p->entries[count & p->mask];
}

/* ---- the ring */

/* Moves `freeable` and `freed` over the events whose bytes can be given back. */
static void ensi_pub_give_back(ensi_pub_t *p)
{
    for (; p->freeable < p->done; p->freeable++) {
        const ensi_entry_t *x = ensi_pub_entry(p, p->freeable);
        if (x->state != ENSI_ENTRY_ACKED && !x->given) break;
    }
    p->freed = p->lent < p->freeable ? p->lent : p->freeable;
}

/* Where `size` bytes fit in one piece, or SIZE_MAX; everything before `freed` is given back. */
static inline size_t ensi_pub_place(const ensi_pub_t *p, uint64_t freed, size_t size)
{
    size_t head;
    if (freed == p->put) return size <= p->cap ? 0 : SIZE_MAX;
    head = ensi_pub_entry(p, freed)->at;
    if (p->tail > head) { /* what is used lies in one piece */
        if (p->cap - p->tail >= size) return p->tail;
        return head >= size ? 0 : SIZE_MAX;
    }
    return head - p->tail >= size ? p->tail : SIZE_MAX;
}

static bool ensi_pub_slot_free(const ensi_pub_t *p, uint64_t freed)
{
    return p->put - (freed < p->pulled ? freed : p->pulled) < p->max_in_flight;
}

/* Space for an entry of `size` bytes; nothing is changed before the commit but, while it is empty, the ring's
 * size: it grows for one large event and shrinks behind it. */
static int ensi_pub_reserve(ensi_pub_t *p, ensi_mem_t *m, size_t size, size_t *at)
{
    size_t want = ensi_max(size, p->buffer_bytes);
    if (!p->entries)
        p->entries = (ensi_entry_t *)ensi_mem_take(m, ((size_t)p->mask + 1) * sizeof *p->entries);
    if (!p->entries) return ENSIGN_E_MEMORY;
    if (!ensi_pub_slot_free(p, p->freed)) return ENSIGN_AGAIN;
    if (p->freed == p->put && p->cap != want) {
        uint8_t *ring = (uint8_t *)ensi_mem_resize(m, p->ring, want);
        if (!ring && size > p->cap) return ENSIGN_E_MEMORY;
        if (ring) {
            p->ring = ring;
            p->cap = want;
        }
    }
    *at = ensi_pub_place(p, p->freed, size);
    return *at == SIZE_MAX ? ENSIGN_AGAIN : ENSIGN_OK;
}

/* Would what was refused with AGAIN fit? */
static bool ensi_pub_has_room(const ensi_pub_t *p, uint64_t freed)
{
    if (!ensi_pub_slot_free(p, freed)) return false;
    return freed == p->put || ensi_pub_place(p, freed, p->room_wanted) != SIZE_MAX;
}

/* Moves `pulled` over the answers that were given, and notes whether what was refused fits now. */
static inline void ensi_pub_pass(ensi_pub_t *p)
{
    while (p->pulled < p->done && ensi_pub_entry(p, p->pulled)->given) p->pulled++;
    if (!p->room_wanted || !ensi_pub_has_room(p, p->freed)) return;
    p->room_wanted = 0;
    p->h.bits |= ENSI_BIT_ROOM;
}

/* Moves `done`, `pulled` and `freed` as far as the answers go, and notes what becomes possible by it. */
static void ensi_pub_advance(ensi_pub_t *p)
{
    while (p->done < p->put && ensi_pub_entry(p, p->done)->state >= ENSI_ENTRY_ACKED) p->done++;
    ensi_pub_give_back(p);
    ensi_pub_pass(p);
    if (p->sent < p->done) p->sent = p->done; /* nacked without being sent; their slots may be taken anew */
    if (p->resolved < p->done) p->resolved = p->done;
    if (p->drain_asked && p->done == p->put) {
        p->drain_asked = false;
        p->drain_left = 0;
        ensi_timer_stop(&p->drain_timer);
        p->h.bits |= ENSI_BIT_DRAINED;
    }
    p->h.stats.in_flight = (uint32_t)(p->put - p->done);
}

static bool ensi_pub_has(ensi_handle_t *h)
{
    const ensi_pub_t *p = (const ensi_pub_t *)(void *)h;
    if (p->h.ended) return false;
    if (p->h.bits != 0 || p->answers > 0) return true;
    /* a lent nack stands in the way of what was refused: the pull that releases it gives ROOM */
    return p->room_wanted && ensi_pub_has_room(p, p->freeable);
}

/* ---- publish */

/* The event's `created`, encoded. That of the wall clock is encoded once a millisecond, for all events; a
 * clock that is not set gives an empty one. `own` is the room for one that the event brings. */
static const ensi_wire_stamp_t *ensi_pub_created(ensign_t *c, const ensign_event_t *e, ensi_wire_stamp_t *own)
{
    ensign_time_t t = e->created;
    int64_t ms;
    if (t.seconds != 0 || t.nanos != 0) {
        ensi_wire_stamp(own, t);
        return own;
    }
    ms = c->env.wall_ms(c->env.user);
    if (ms <= 0) ms = 0;
    if (ms != c->stamp_ms) {
        t.seconds = ms / 1000;
        t.nanos = (int32_t)(ms % 1000) * 1000000;
        ensi_wire_stamp(&c->stamp, t);
        c->stamp_ms = ms;
    }
    return &c->stamp;
}

static bool ensi_pub_no_id(const ensign_ulid_t *id)
{
    static const ensign_ulid_t zero = { { 0 } };
    return memcmp(id->b, zero.b, sizeof zero.b) == 0;
}

/* The topic of an event as a name or, in `to_topic_id`, as an id; an event of the publisher's topic has
 * neither, but where that is given by its id. `scratch` holds the event where it has to change. */
static const ensign_event_t *ensi_pub_address(const ensi_pub_t *p, const ensign_event_t *e,
                                              ensign_event_t *scratch)
{
    ensign_ulid_t id = p->own_id;
    bool named = e->topic && e->topic[0];
    bool own = !named && p->own_by_id && ensi_pub_no_id(&e->to_topic_id);
    if (!own && !(named && ensi_id_of_topic_text(ensign_str(e->topic), &id))) return e;
    *scratch = *e;
    scratch->topic = NULL;
    scratch->to_topic_id = id;
    return scratch;
}

/* own: the event is for the publisher's topic. */
/* Are these the messages of their names? A server that cannot read them ends the stream, and would end each
 * further one at the same event. */
static bool ensi_pub_sound(ensign_slice_t encryption, ensign_slice_t compression)
{
    ensi_pb_encryption_t e;
    ensi_pb_compression_t k;
    return ensi_pb_decode(ensi_pb_encryption_fields, &e, encryption.ptr, encryption.len) &&
           ensi_is_utf8(e.public_key_id) &&
           ensi_pb_decode(ensi_pb_compression_fields, &k, compression.ptr, compression.len);
}

static int ensi_pub_check(ensign_t *c, const ensi_pub_t *p, const ensign_event_t *e, ensign_slice_t name,
                          bool own)
{
    if (p->h.closing)
        return ensi_env_fail(&c->env, ENSIGN_E_STATE, "publish: this publisher is closing; open another one");
    if (name.len > ENSI_TOPIC_NAME_MAX)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT, "publish: a topic name of %lu bytes, %d are allowed",
                             (unsigned long)name.len, ENSI_TOPIC_NAME_MAX);
    if (own && p->topic[0] == '\0')
        return ensi_env_fail(
            &c->env, ENSIGN_E_ARGUMENT,
            "publish: neither the event (topic, to_topic_id) nor the publisher's desc names a topic");
    if (e->data.len > p->max_event_bytes)
        return ensi_env_fail(
            &c->env, ENSIGN_E_TOO_LARGE,
            "publish: data of %lu bytes; max_event_bytes allows %lu with all that is around it",
            (unsigned long)e->data.len, (unsigned long)p->max_event_bytes);
    if ((e->encryption.len > 0 || e->compression.len > 0) && !ensi_pub_sound(e->encryption, e->compression))
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "publish: the event's encryption or compression is not an encoded message of "
                             "that name; leave it empty, or give it as it was received");
    return ENSIGN_OK;
}

static void ensi_pub_commit(ensi_pub_t *p, const ensign_event_t *e, size_t at, size_t len,
                            ensign_slice_t name, bool own)
{
    ensi_entry_t *x = ensi_pub_entry(p, p->put);
    memset(x, 0, sizeof *x);
    x->tag = e->tag;
    x->at = (uint32_t)at;
    x->len = (uint32_t)len;
    x->name_len = (uint16_t)name.len;
    x->own_topic = own;
    if (name.len) memcpy(p->ring + at + len, name.ptr, name.len);
    p->tail = at + len + name.len;
    p->put++;
    if (p->state == ENSI_PUB_WAIT || p->call.state == ENSI_GRPC_QUEUED) p->fresh = p->put;
    p->h.stats.published++;
    p->h.stats.in_flight = (uint32_t)(p->put - p->done);
}

/* ---- sending */

/* Event `count` is answered: its notice is given behind those of earlier answers. */
static void ensi_pub_enqueue(ensi_pub_t *p, uint64_t count)
{
    if (p->answers++ == 0) p->first = count;
    else ensi_pub_entry(p, p->last)->next = (uint16_t)count;
    p->last = count;
}

/* How an event is nacked, whatever the reason. answered: the server refuses it on the stream that it was sent
 * on last. It may be stored all the same where an earlier stream had the whole of it and gave no answer; and
 * without an answer, where any stream had. In that case the code says so too. */
static void ensi_pub_nack_entry(ensign_t *c, ensi_pub_t *p, uint64_t count, int code, bool answered)
{
    ensi_entry_t *x = ensi_pub_entry(p, count);
    bool maybe = x->unanswered || (!answered && x->state == ENSI_ENTRY_SENT);
    x->stored = maybe ? ENSIGN_STORED_MAYBE : ENSIGN_STORED_NO;
    x->code = maybe && !answered ? ENSIGN_NACK_OUTCOME_UNKNOWN : code;
    x->state = ENSI_ENTRY_NACKED;
    ensi_pub_enqueue(p, count);
    p->h.stats.nacked++;
    c->env.stats.nacked++;
}

/* The 16 bytes of the topic's id inside of an encoded event: behind the prefix, and the heads of the wrapper
 * and of the id itself. */
static uint8_t *ensi_pub_topic_at(const ensi_pub_t *p, const ensi_entry_t *x)
{
    uint8_t *at = p->ring + x->at + ENSI_GRPC_PREFIX + 1;
    while (*at & 0x80) at++;
    return at + 3;
}

/* The name that an event was published to; empty: it has an id. */
static ensign_slice_t ensi_pub_name(const ensi_pub_t *p, const ensi_entry_t *x)
{
    if (x->own_topic) return ensign_str(p->topic);
    return ensi_slice(p->ring + x->at + x->len, x->name_len);
}

/* nghttp2 asks for bytes: events, whole ones one behind the other, in frames as they fit. */
static size_t ensi_pub_more(ensi_call_t *call, uint8_t *out, size_t cap)
{
    ensi_pub_t *p = (ensi_pub_t *)(void *)call->owner;
    bool idle = p->sent == p->done; /* no whole event waits for its answer */
    size_t n = 0;
    while (n < cap && p->sent < p->resolved) {
        ensi_entry_t *x = ensi_pub_entry(p, p->sent);
        size_t part = ensi_min(x->len - p->partial, cap - n);
        if (p->partial == 0 && x->state >= ENSI_ENTRY_ACKED) {
            p->sent++; /* answered on an earlier stream, or never to be sent */
            continue;
        }
        if (p->partial == 0 && p->state != ENSI_PUB_READY) break; /* draining: only what was begun */
        memcpy(out + n, p->ring + x->at + p->partial, part);
        n += part;
        p->partial += part;
        if (p->partial < x->len) break;
        if (x->state == ENSI_ENTRY_SENT) {
            p->h.stats.resent++;
            call->env->stats.resent++;
        }
        x->state = ENSI_ENTRY_SENT;
        p->partial = 0;
        p->sent++;
    }
    /* a large event on a slow line goes on; the timer that runs is to be scheduled anew */
    if (n && idle && ensi_timer_left(&p->ack_timer, call->env->now_ms) != p->ack_timeout_ms) {
        if (p->ack_timer.state == ENSI_TIMER_ARMED) ensi_stream_touch(&call->s);
        ensi_timer_start(&p->ack_timer, p->ack_timeout_ms);
    }
    return n;
}

/* ---- answers */

/* The entry that an answer is about. NULL: it was answered before or, with *bad, not sent on this stream. */
static inline ensi_entry_t *ensi_pub_answered(ensi_pub_t *p, ensign_slice_t id, uint64_t *count, bool *bad)
{
    *bad = id.len != ENSI_PUB_LOCAL_ID || ensi_get_be64(id.ptr) != p->nonce;
    if (*bad) return NULL;
    *count = ensi_get_be64(id.ptr + 8);
    *bad = *count >= p->sent;
    if (*bad || *count < p->done || ensi_pub_entry(p, *count)->state != ENSI_ENTRY_SENT) return NULL;
    p->heard = true;
    return ensi_pub_entry(p, *count);
}

static int ensi_pub_on_ack(ensign_t *c, ensi_pub_t *p, ensign_slice_t id, ensign_time_t committed)
{
    uint64_t count;
    bool bad;
    ensi_entry_t *x = ensi_pub_answered(p, id, &count, &bad);
    if (!x) return bad ? ENSIGN_E_PROTOCOL : ENSIGN_OK;
    x->state = ENSI_ENTRY_ACKED;
    x->given = p->quiet_acks;
    if (!x->given) ensi_pub_enqueue(p, count);
    x->seconds = committed.seconds;
    x->nanos = committed.nanos;
    p->h.stats.acked++;
    c->env.stats.acked++;
    return ENSIGN_OK;
}

static void ensi_pub_nack_text(ensi_pub_t *p, uint64_t count, ensign_slice_t text)
{
    ensi_nack_text_t *t = &p->texts[count % ENSI_PUB_TEXTS];
    t->count = count;
    ensi_fmt(t->text, sizeof t->text, "%.*s", ensi_slice_show(text), text.len ? (const char *)text.ptr : "");
}

static int ensi_pub_on_nack(ensign_t *c, ensi_pub_t *p, const ensi_pb_nack_t *nack)
{
    uint64_t count;
    bool bad;
    if (!ensi_pub_answered(p, nack->id, &count, &bad)) return bad ? ENSIGN_E_PROTOCOL : ENSIGN_OK;
    ensi_pub_nack_entry(c, p, count, nack->code, true);
    ensi_pub_nack_text(p, count, nack->error);
    return ENSIGN_OK;
}

static int ensi_pub_on_ready(ensign_t *c, ensi_pub_t *p, const ensi_pb_stream_ready_t *ready)
{
    if (p->state != ENSI_PUB_OPENING) return ENSIGN_E_PROTOCOL;
    if (!ensi_topics_renew(&p->topics, &c->maps, &c->cache, &c->env.mem, ready->topics))
        return ENSIGN_E_MEMORY;
    p->own_known = p->topic[0] != '\0' && ensi_topics_id(&p->topics, ensign_str(p->topic), &p->own_in_map);
    p->stale = p->reopen.parked = false;
    ensi_must(ensi_pub_move(p, ENSI_PUB_ON_READY));
    ensi_reopen_ready(&p->reopen, c, &p->h, &p->call);
    p->h.bits |= ENSI_BIT_OPEN;
    return ENSIGN_OK;
}

/* A reply that is more than an ack. */
static int ensi_pub_other_reply(ensign_t *c, ensi_pub_t *p, ensign_slice_t bytes)
{
    ensi_pb_publisher_reply_t reply;
    if (!ensi_pb_decode(ensi_pb_publisher_reply_fields, &reply, bytes.ptr, bytes.len))
        return ENSIGN_E_PROTOCOL;
    if (reply.has_ack)
        return ensi_pub_on_ack(c, p, reply.ack.id,
                               ensi_time_of(reply.ack.has_committed, &reply.ack.committed));
    if (reply.has_nack) return ensi_pub_on_nack(c, p, &reply.nack);
    if (reply.has_ready) return ensi_pub_on_ready(c, p, &reply.ready);
    return ENSIGN_OK; /* close_stream: the trailers behind it decide */
}

/* One reply, decoded where it lies and answered into its entry. OK, or why the stream must end. */
static int ensi_pub_reply(ensign_t *c, ensi_pub_t *p, ensign_slice_t bytes)
{
    ensign_slice_t id;
    ensign_time_t committed;
    if (ensi_wire_ack(bytes, &id, &committed)) return ensi_pub_on_ack(c, p, id, committed);
    return ensi_pub_other_reply(c, p, bytes);
}

/* The next reply cannot be read; `fault` says why. */
static void ensi_pub_bad_reply(ensi_pub_t *p, int code, size_t len)
{
    ensign_error_t why = p->call.fault;
    if (code == ENSIGN_E_TOO_LARGE)
        ensi_fail(&why, code, 0,
                  "publish: the server sends a reply of %lu bytes, max_reply_bytes allows %lu; raise it: the "
                  "map of all topics comes in one reply",
                  (unsigned long)len, (unsigned long)p->max_reply_bytes);
    ensi_grpc_abort(&p->call, ensi_grpc_status_of(code), code, "%s", why.text);
}

static void ensi_pub_receive(ensign_t *c, ensi_pub_t *p)
{
    ensign_slice_t bytes;
    int rc, answer = ENSIGN_OK;
    p->heard = false;
    while (answer == ENSIGN_OK && (rc = ensi_msg_take(&p->call, &bytes)) == ENSIGN_OK)
        answer = ensi_pub_reply(c, p, bytes);
    if (p->heard) {
        ensi_reopen_used(&p->reopen, &p->h);
        ensi_timer_start(&p->ack_timer, p->ack_timeout_ms);
    }
    if (answer != ENSIGN_OK)
        ensi_grpc_abort(&p->call, ENSIGN_GRPC_INTERNAL, answer, "%s",
                        answer == ENSIGN_E_MEMORY
                            ? "memory: none for the map of topics; free some or raise memory_limit"
                            : "publish: the server answers an event that was not sent on this stream, or "
                              "sends no valid reply");
    else if (rc < 0) ensi_pub_bad_reply(p, rc, bytes.len);
}

/* ---- topics: an event's id from the map; what the map lacks is asked for */

/* The event that is to be resolved next goes nowhere. */
static void ensi_pub_refuse(ensign_t *c, ensi_pub_t *p, int code, const char *text)
{
    ensi_pub_nack_text(p, p->resolved, ensign_str(text));
    ensi_pub_nack_entry(c, p, p->resolved, code, false);
    p->resolved++;
    p->ask_backoff.failures = 0;
}

/* The question failed for a reason that may pass. True: the event is given up. */
static bool ensi_pub_ask_later(ensign_t *c, ensi_pub_t *p, const char *why)
{
    uint64_t now = c->env.now_ms;
    bool cut = p->asker.ask && ensi_ask_cut(p->asker.ask);
    ensi_backoff_fail(&p->ask_backoff, &c->env);
    if (p->ask_backoff.failures >= ENSI_PUB_ASKS &&
        (!cut || now - p->ask_backoff.since_ms >= c->request_timeout_ms)) {
        ensi_pub_refuse(c, p, ENSIGN_NACK_TOPIC_UNKNOWN, why);
        return true;
    }
    ensi_timer_start(&p->asker.timer, ensi_backoff_draw(&p->ask_backoff, &c->env));
    return false;
}

/* Is the topic of event `resolved` to be made, and not only to be looked for? */
static bool ensi_pub_makes(const ensi_pub_t *p)
{
    return p->ensure_topic && ensi_pub_name(p, ensi_pub_entry(p, p->resolved)).len > 0;
}

/* True: the event is given up. */
static bool ensi_pub_ask(ensign_t *c, ensi_pub_t *p, ensign_slice_t name, const ensign_ulid_t *id)
{
    bool asked = ensi_pub_makes(p) ? ensi_asker_create(c, &p->asker, &p->h, name)
                                   : ensi_asker_exists(c, &p->asker, &p->h, name, id);
    return !asked && ensi_pub_ask_later(c, p, "no memory to ask for the topic");
}

/* A topic's name or id as one short thing to compare. */
static void ensi_pub_mark(ensign_slice_t name, const ensign_ulid_t *id, uint8_t mark[ENSI_ID_HASH])
{
    ensi_id_hash(name.len ? name : ensi_slice(id->b, sizeof id->b), mark);
}

static ensi_cached_t *ensi_pub_cached(const ensign_t *c, ensign_slice_t name, const ensign_ulid_t *id)
{
    return name.len ? ensi_cache_find(&c->cache, name) : ensi_cache_find_id(&c->cache, id->b);
}

/* The map lacks the topic of the next event. False: there is a way, and it takes its time. */
static bool ensi_pub_look_up(ensign_t *c, ensi_pub_t *p, ensign_slice_t name, const ensign_ulid_t *id)
{
    uint8_t mark[ENSI_ID_HASH];
    if (p->asker.timer.state != ENSI_TIMER_OFF) return false;
    if (p->resolved >= p->fresh && ensi_pub_cached(c, name, id)) { /* newer than the map */
        p->stale = true;
        return false;
    }
    ensi_pub_mark(name, id, mark);
    if (p->unknown_timer.state != ENSI_TIMER_OFF && memcmp(mark, p->unknown, sizeof mark) == 0) {
        ensi_pub_refuse(c, p, ENSIGN_NACK_TOPIC_UNKNOWN, "");
        return true;
    }
    return ensi_pub_ask(c, p, name, id);
}

/* Nacks an event whose topic is not there. It is not looked for again at once, and leaves the cache: else
 * each event for it would have the stream opened again. */
static void ensi_pub_missing(ensign_t *c, ensi_pub_t *p)
{
    ensi_entry_t *x = ensi_pub_entry(p, p->resolved);
    ensign_slice_t name = ensi_pub_name(p, x);
    ensign_ulid_t id;
    memcpy(id.b, ensi_pub_topic_at(p, x), sizeof id.b);
    ensi_cache_drop(&c->cache, &c->env.mem, ensi_pub_cached(c, name, &id));
    ensi_pub_mark(name, &id, p->unknown);
    ensi_timer_start(&p->unknown_timer, ENSI_PUB_UNKNOWN_MS);
    ensi_pub_refuse(c, p, ENSIGN_NACK_TOPIC_UNKNOWN, "");
}

/* An event that is older than the map, which lacks its topic; a parked publisher has no map at all. True:
 * nothing more is to be tried. */
static bool ensi_pub_settle(ensign_t *c, ensi_pub_t *p)
{
    bool named = ensi_pub_name(p, ensi_pub_entry(p, p->resolved)).len > 0;
    if (!named && !p->reopen.parked) p->resolved++; /* the server decides */
    else if ((!named || ensi_pub_makes(p)) && p->made != p->resolved + 1) return false;
    else ensi_pub_missing(c, p);
    return true;
}

/* Gives the next event its topic's id, or nacks it. False: that must wait. */
static bool ensi_pub_resolve_one(ensign_t *c, ensi_pub_t *p)
{
    ensi_entry_t *x = ensi_pub_entry(p, p->resolved);
    uint8_t *at = ensi_pub_topic_at(p, x);
    bool known = x->state >= ENSI_ENTRY_ACKED;
    ensign_slice_t name;
    ensign_ulid_t id;
    if (x->own_topic && p->own_known && !known) {
        memcpy(at, p->own_in_map.b, sizeof p->own_in_map.b);
        p->resolved++;
        return true;
    }
    name = ensi_pub_name(p, x);
    memcpy(id.b, at, sizeof id.b);
    if (!known)
        known = name.len ? ensi_topics_id(&p->topics, name, &id)
                         : ensi_topics_name(&p->topics, ensi_slice(at, sizeof id.b)).len > 0;
    if (known) {
        memcpy(at, id.b, sizeof id.b);
        p->resolved++;
        return true;
    }
    return (p->resolved < p->fresh && ensi_pub_settle(c, p)) || ensi_pub_look_up(c, p, name, &id);
}

/* A question that was refused: what is final is a nack. That there is no connection, or no token, says
 * nothing of the topic, and does not count. */
static void ensi_pub_unheard(ensign_t *c, ensi_pub_t *p)
{
    const ensi_call_t *call = &p->asker.ask->call;
    if (call->s.lost || ensi_state_fault(c)) {
        ensi_backoff_t once = { 1, c->env.now_ms };
        ensi_timer_start(&p->asker.timer, ensi_backoff_draw(&once, &c->env));
        return;
    }
    switch (call->from_server ? call->end_status : ENSIGN_GRPC_UNAVAILABLE) {
    case ENSIGN_GRPC_ALREADY_EXISTS: p->stale = true; break;
    case ENSIGN_GRPC_PERMISSION_DENIED:
        if (ensi_pub_makes(p)) ensi_pub_refuse(c, p, ENSIGN_NACK_PERMISSION_DENIED, call->fault.text);
        else p->stale = true; /* this key may not look; the next stream's map tells */
        break;
    case ENSIGN_GRPC_INVALID_ARGUMENT:
    case ENSIGN_GRPC_NOT_FOUND:
    case ENSIGN_GRPC_FAILED_PRECONDITION:
    case ENSIGN_GRPC_UNIMPLEMENTED: ensi_pub_refuse(c, p, ENSIGN_NACK_TOPIC_UNKNOWN, call->fault.text); break;
    default: (void)ensi_pub_ask_later(c, p, call->fault.text); break;
    }
}

static void ensi_pub_heard(ensign_t *c, ensi_pub_t *p)
{
    ensi_pb_topic_exists_info_t info;
    ensign_slice_t bytes;
    int rc = ensi_asker_answer(c, &p->asker, &bytes);
    if (rc == ENSIGN_AGAIN) return;
    if (rc < 0) {
        ensi_pub_unheard(c, p);
    } else if (ensi_pub_makes(p)) {
        p->stale = true;
    } else if (!ensi_pb_decode(ensi_pb_topic_exists_info_fields, &info, bytes.ptr, bytes.len)) {
        (void)ensi_pub_ask_later(c, p, "the server's answer cannot be read");
    } else if (info.exists) {
        p->stale = true;
    } else {
        ensi_pub_missing(c, p);
    }
    if (!p->stale) return;
    p->made = p->resolved + 1;
    p->ask_backoff.failures = 0;
}

/* Gives events their topics' ids, as far as they are known. A question is about event `resolved`, which waits
 * for the answer, whatever becomes known meanwhile. */
static void ensi_pub_resolve(ensign_t *c, ensi_pub_t *p)
{
    ensi_pub_heard(c, p);
    while (p->resolved < p->put && !p->stale && !p->asker.asking && ensi_pub_resolve_one(c, p)) continue;
}

/* ---- opening, losing, ending */

static int ensi_pub_queue(ensign_t *c, ensi_pub_t *p)
{
    ensi_pb_publisher_request_t request;
    uint8_t *out;
    size_t len;
    memset(&request, 0, sizeof request);
    request.has_open_stream = true;
    request.open_stream.client_id = ensign_str(c->stream_name);
    ensi_call_rewind(&p->call);
    if (ensi_call_restart(&p->call, ENSI_PUB_OPEN_ROOM, &out) != ENSIGN_OK ||
        !ensi_pb_encode(ensi_pb_publisher_request_fields, &request, out, ENSI_PUB_OPEN_ROOM, &len))
        return ENSIGN_E_MEMORY;
    ensi_grpc_commit(&p->call, len, 0);
    ensi_grpc_queue(&p->call);
    p->fresh = p->put;
    ensi_must(ensi_pub_move(p, ENSI_PUB_ON_OPEN));
    return ENSIGN_OK;
}

/* What is not answered goes again; with at_most_once what was handed over whole is nacked instead. */
static void ensi_pub_rewind(ensign_t *c, ensi_pub_t *p)
{
    for (uint64_t i = p->done; i < p->put; i++) {
        ensi_entry_t *x = ensi_pub_entry(p, i);
        if (x->state != ENSI_ENTRY_SENT) continue;
        x->unanswered = true;
        if (p->at_most_once) ensi_pub_nack_entry(c, p, i, ENSIGN_NACK_OUTCOME_UNKNOWN, false);
    }
    p->sent = p->done;
    p->partial = 0;
    ensi_pub_advance(p);
}

/* Nothing more is sent for what waits. */
static void ensi_pub_nack_rest(ensign_t *c, ensi_pub_t *p, int unsent_code)
{
    for (uint64_t i = p->done; i < p->put; i++) {
        if (ensi_pub_entry(p, i)->state < ENSI_ENTRY_ACKED)
            ensi_pub_nack_entry(c, p, i, unsent_code, false);
    }
    ensi_pub_advance(p);
}

/* No more streams: what is left is nacked, then END. */
static void ensi_pub_finish(ensign_t *c, ensi_handle_t *h, const ensign_error_t *why)
{
    ensi_pub_t *p = (ensi_pub_t *)(void *)h;
    ensi_grpc_abort(&p->call, ENSIGN_GRPC_CANCELLED, ENSIGN_E_CANCELLED, "publish: closed");
    ensi_must(ensi_pub_move(p, ENSI_PUB_ON_END));
    ensi_timer_stop(&p->ack_timer);
    ensi_reopen_stop(&p->reopen, h);
    ensi_timer_stop(&p->unknown_timer);
    ensi_asker_drop(&p->asker);
    p->room_wanted = 0;
    ensi_pub_nack_rest(c, p, ENSIGN_NACK_NOT_SENT);
    ensi_state_end(c, &p->h, why);
}

/* The project has no topics, so the server opens no stream: what waits is nacked, or its topics are made; the
 * next event asks again. */
static void ensi_pub_park(ensign_t *c, ensi_pub_t *p)
{
    ensign_error_t why;
    ensi_must(ensi_pub_move(p, ENSI_PUB_ON_LOST));
    ensi_pub_rewind(c, p);
    ensi_topics_free(&p->topics, &c->env.mem);
    p->resolved = p->done;
    p->own_known = p->stale = false;
    if (!p->ensure_topic) ensi_pub_nack_rest(c, p, ENSIGN_NACK_TOPIC_UNKNOWN);
    ensi_reopen_used(&p->reopen, &p->h);
    p->call.refused = false; /* it looks at the token first */
    p->reopen.parked = true;
    if (p->ensure_topic && p->done < p->put) return; /* the topics are being made */
    ensi_fail(&why, ENSIGN_E_UNKNOWN_TOPIC, 0,
              "publish: the project has no topics, so the server opens no stream; %s",
              p->ensure_topic ? "the first event makes its topic"
                              : "create one, or set ensure_topic: the next event asks again");
    ensi_state_waits(c, &p->h, &why);
}

static void ensi_pub_stream_ended(ensign_t *c, ensi_pub_t *p)
{
    bool opened = p->h.standing, half = p->state == ENSI_PUB_HALF, again;
    ensi_asker_drop(&p->asker);
    if (p->call.end_status == ENSIGN_GRPC_FAILED_PRECONDITION && !opened && p->call.from_server) {
        ensi_pub_park(c, p);
        return;
    }
    again = ensi_state_token_again(c, &p->call);
    if (!half && ensi_reopen_final(&p->h, &p->call, again)) {
        ensi_pub_finish(c, &p->h, &p->call.fault);
        return;
    }
    ensi_must(ensi_pub_move(p, ENSI_PUB_ON_LOST));
    ensi_pub_rewind(c, p);
    ensi_reopen_lost(&p->reopen, c, &p->h, &p->call, half);
}

/* Half-close, when nothing is in flight: the server forgets the acks that it owes when the client does. */
static void ensi_pub_half_close(ensi_pub_t *p)
{
    bool idle = p->partial == 0 && (p->state == ENSI_PUB_DRAINING ? p->done == p->sent : p->done == p->put);
    if (!idle || (p->state == ENSI_PUB_READY && !p->h.closing)) return;
    if (ensi_pub_move(p, ENSI_PUB_ON_HALF)) p->call.half_closed = true;
}

/* Does the publisher leave a draining connection with all events answered? Then it waits for the server's END
 * no longer than ENSI_PUB_PARTING_MS. */
static bool ensi_pub_parts(const ensi_pub_t *p)
{
    return p->state == ENSI_PUB_HALF && !p->h.closing && p->done == p->sent && ensi_h2_leaves(&p->call.s);
}

/* The server owes something from now on. Where each event waits for the ack of the one before, this runs once
 * an event: a time that is known counts at once, and the handle needs no second look. */
static void ensi_pub_await(const ensign_t *c, ensi_pub_t *p, uint32_t timeout_ms)
{
    ensi_timer_start(&p->ack_timer, timeout_ms);
    if (c->env.timed) ensi_timer_arm(&p->ack_timer, c->env.now_ms);
}

/* Lets ack_timer run while the server owes something. */
static void ensi_pub_watch(const ensign_t *c, ensi_pub_t *p)
{
    bool owes = p->state == ENSI_PUB_HALF;
    if (p->state == ENSI_PUB_READY) owes = p->done < p->resolved;
    if (p->state == ENSI_PUB_DRAINING) owes = p->done < p->sent || p->partial > 0;
    if (!owes) ensi_timer_stop(&p->ack_timer);
    else if (p->ack_timer.state == ENSI_TIMER_OFF) ensi_pub_await(c, p, p->ack_timeout_ms);
    if (ensi_pub_parts(p) && ensi_timer_left(&p->ack_timer, c->env.now_ms) > ENSI_PUB_PARTING_MS)
        ensi_pub_await(c, p, ENSI_PUB_PARTING_MS);
}

/* A parked one wants a stream with its next event or, if it makes topics, once it has made one. */
static bool ensi_pub_wants_stream(const ensi_pub_t *p)
{
    if (!p->reopen.parked) return true;
    return p->ensure_topic ? p->stale : p->done < p->put;
}

/* Without a stream: one is wanted, or the last event was answered and the publisher is closing. */
static void ensi_pub_reopen(ensign_t *c, ensi_pub_t *p)
{
    if (p->h.closing && p->done == p->put) {
        ensi_pub_finish(c, &p->h, NULL);
    } else if (p->state == ENSI_PUB_WAIT && p->reopen.timer.state == ENSI_TIMER_OFF &&
               ensi_pub_wants_stream(p) && ensi_pub_queue(c, p) != ENSIGN_OK) {
        ensi_reopen_later(&p->reopen, c, &p->h, "memory: none to open a stream for a publisher; free some");
    }
}

/* What is always true; for assertions. */
static ENSI_UNUSED bool ensi_pub_holds(const ensi_pub_t *p)
{
    return p->pulled <= p->done && p->done <= p->sent && p->sent <= p->resolved && p->resolved <= p->put &&
           p->freed <= p->freeable && p->freeable <= p->done && p->answers <= p->put - p->pulled &&
           p->put - p->done <= p->max_in_flight && p->tail <= p->cap &&
           (p->state != ENSI_PUB_ENDED || p->done == p->put) && ensi_grpc_holds(&p->call);
}

/* Facts, events or a close have come. */
static void ensi_pub_serve(ensign_t *c, ensi_handle_t *h)
{
    ensi_pub_t *p = (ensi_pub_t *)(void *)h;
    ensi_call_t *call = &p->call;
    if (p->state != ENSI_PUB_ENDED) {
        ensi_pub_receive(c, p);
        if (p->state == ENSI_PUB_READY) ensi_pub_resolve(c, p);
        ensi_pub_advance(p);
        if (p->state != ENSI_PUB_WAIT && call->state == ENSI_GRPC_ENDED) ensi_pub_stream_ended(c, p);
        if (p->state == ENSI_PUB_WAIT && p->reopen.parked && p->ensure_topic) {
            ensi_pub_resolve(c, p);
            ensi_pub_advance(p);
        }
        if (p->state == ENSI_PUB_WAIT || p->state == ENSI_PUB_OPENING) ensi_pub_reopen(c, p);
        if (p->state == ENSI_PUB_READY && (ensi_h2_drains(&call->s) || p->stale))
            ensi_must(ensi_pub_move(p, ENSI_PUB_ON_DRAIN));
        ensi_pub_half_close(p);
        ensi_pub_watch(c, p);
        ensi_reopen_watch(&p->reopen, c, h);
        if (call->half_closed || call->sent < call->out.end || p->sent < p->resolved)
            ensi_h2_resume(&call->s);
        ensi_state_grant(c, call);
        if (p->asker.ask) ensi_ask_move_on(c, p->asker.ask);
    }
    ENSIGN_ASSERT(ensi_pub_holds(p));
    ensi_state_ready(c, &p->h, ensi_pub_has(&p->h));
}

static void ensi_pub_tick(ensign_t *c, ensi_handle_t *h)
{
    ensi_pub_t *p = (ensi_pub_t *)(void *)h;
    uint64_t now = c->env.now_ms;
    if (ensi_reopen_tick(&p->reopen, c, h)) ensi_state_touch(c, &p->call);
    (void)ensi_timer_due(&p->unknown_timer, now);
    if (ensi_timer_due(&p->asker.timer, now)) {
        ensi_asker_late(c, &p->asker, "no answer within request_timeout_ms");
        ensi_state_touch(c, &p->call);
    }
    if (ensi_timer_due(&p->ack_timer, now)) {
        ensi_ping_silent(c, &p->call, p->ack_timeout_ms);
        ensi_grpc_abort(&p->call, ENSIGN_GRPC_UNAVAILABLE, ENSIGN_E_STALLED,
                        "publish: no answer within ack_timeout_ms; the stream is opened again");
        ensi_state_touch(c, &p->call);
    }
    if (ensi_timer_due(&p->drain_timer, now) && p->drain_asked) {
        p->drain_asked = false;
        p->drain_left = p->put - p->done;
        p->h.bits |= ENSI_BIT_DRAINED;
        ensi_state_ready(c, &p->h, true);
    }
}

static uint64_t ensi_pub_due(const ensi_handle_t *h)
{
    const ensi_pub_t *p = (const ensi_pub_t *)(const void *)h;
    uint64_t due = ensi_reopen_due(&p->reopen);
    due = ensi_timer_sooner(due, &p->ack_timer);
    due = ensi_timer_sooner(due, &p->drain_timer);
    due = ensi_timer_sooner(due, &p->asker.timer);
    return ensi_timer_sooner(due, &p->unknown_timer);
}

static void ensi_pub_close(ensign_t *c, ensi_handle_t *h)
{
    ensi_pub_t *p = (ensi_pub_t *)(void *)h;
    p->room_wanted = 0;
    h->bits &= ~(uint32_t)ENSI_BIT_ROOM;
    ensi_state_touch(c, &p->call);
}

static bool ensi_pub_open_next(const ensi_handle_t *h, int which, size_t *at, ensign_slice_t *name,
                               ensign_ulid_t *id)
{
    const ensi_pub_t *p = (const ensi_pub_t *)(const void *)h;
    if (which == ENSIGN_OPEN_TOPICS) return ensi_topics_next(&p->told, at, name, id);
    return (*at)++ == 0 && p->topic[0] && ensi_topics_lacks(&p->told, ensign_str(p->topic), name, id);
}

/* ---- notices */

/* The event of a nack, as it was published, read back from its bytes. */
static void ensi_pub_read_back(ensi_pub_t *p, const ensi_entry_t *x)
{
    ensi_pb_publisher_request_t request;
    memset(&p->event, 0, sizeof p->event);
    p->event.tag = x->tag;
    if (!ensi_pb_decode(ensi_pb_publisher_request_fields, &request, p->ring + x->at + ENSI_GRPC_PREFIX,
                        x->len - ENSI_GRPC_PREFIX))
        return;
    ensi_event_of(&p->event, &request.event,
                  ensi_slice(p->ring + x->at + ENSI_GRPC_PREFIX, x->len - ENSI_GRPC_PREFIX), false);
    p->event.to_topic_id = p->event.topic_id;
    p->event.topic_name = ensi_pub_name(p, x);
}

/* What stands behind an event that was not sent, or not answered: the publisher's end. Words of ours are left
 * out then: that it can be published again is no help where the key was refused. */
static ensign_notice_t *ensi_pub_nack_notice(ensi_pub_t *p, const ensi_entry_t *x, uint64_t count)
{
    const ensi_nack_text_t *t = &p->texts[count % ENSI_PUB_TEXTS];
    bool ours = x->code == ENSIGN_NACK_NOT_SENT || x->code == ENSIGN_NACK_OUTCOME_UNKNOWN;
    bool doubt = !ours && x->stored == ENSIGN_STORED_MAYBE; /* ours tell of it themselves */
    const char *words = ensi_id_nack_text(x->code);
    ensign_notice_t *n = ensi_notice_new(&p->h, ENSIGN_NOTICE_NACK);
    ensign_slice_t topic;

    p->lent = count;
    ensi_pub_read_back(p, x);
    topic = p->event.topic_name.len ? p->event.topic_name : ensign_str("given by id");
    n->as.nack.tag = x->tag;
    n->as.nack.code = x->code;
    n->as.nack.stored = (ensign_stored_t)x->stored;
    n->as.nack.event = &p->event;
    if (ours && p->h.fault.code) words = p->h.fault.text;
    else if (!ours && t->count == count && t->text[0]) words = t->text;
    ensi_fail(&p->h.error, ENSIGN_E_NACK, x->code, "publish: %s: %s (topic %.*s)%s",
              ensign_nack_name(x->code), words, (int)ensi_min(topic.len, 40), (const char *)topic.ptr,
              doubt ? "; an earlier stream may have stored it" : "");
    n->error = &p->h.error;
    return n;
}

static ensign_notice_t *ensi_pub_answer(ensi_pub_t *p)
{
    uint64_t count = p->first;
    ensi_entry_t *x = ensi_pub_entry(p, count);
    ensign_notice_t *n;

    x->given = true;
    p->answers--;
    p->first = p->pulled + (uint16_t)(x->next - p->pulled); /* an answer that is not given is not older */
    if (x->state == ENSI_ENTRY_NACKED) {
        n = ensi_pub_nack_notice(p, x, count);
        ensi_pub_advance(p);
        return n;
    }
    ensi_pub_pass(p);
    n = ensi_notice_new(&p->h, ENSIGN_NOTICE_ACK);
    n->as.ack.tag = x->tag;
    n->as.ack.committed.seconds = x->seconds;
    n->as.ack.committed.nanos = x->nanos;
    return n;
}

/* The OPEN notice, if it is pending. The map stands until the next pull. */
static ensign_notice_t *ensi_pub_pull_open(ensi_pub_t *p)
{
    ensign_notice_t *n = ensi_notice_bit(&p->h, ENSI_BIT_OPEN, ENSIGN_NOTICE_OPEN);
    if (!n) return NULL;
    p->told = ensi_topics_share(&p->topics);
    ensi_state_count_open(&p->h, n);
    return n;
}

/* What goes before answers: OPEN, WAITING and ROOM, if one of them is pending. */
static ensign_notice_t *ensi_pub_pull_news(ensign_t *c, ensi_pub_t *p)
{
    ensign_notice_t *n = ensi_pub_pull_open(p); /* where WAITING is pending too, the stream stands */
    if (!n) n = ensi_state_pull_waiting(c, &p->h);
    if (!n) n = ensi_notice_bit(&p->h, ENSI_BIT_ROOM, ENSIGN_NOTICE_ROOM);
    return n;
}

static ensign_notice_t *ensi_pub_pull(ensign_t *c, ensi_handle_t *h)
{
    ensi_pub_t *p = (ensi_pub_t *)(void *)h;
    ensign_notice_t *n;
    ensi_topics_free(&p->told, &c->env.mem);
    if (p->lent != UINT64_MAX) { /* the nack that stood is released */
        p->lent = UINT64_MAX;
        ensi_pub_advance(p);
    }
    if (h->bits != 0 && (n = ensi_pub_pull_news(c, p)) != NULL) return n;
    if (p->answers > 0) return ensi_pub_answer(p);
    if ((n = ensi_notice_bit(&p->h, ENSI_BIT_DRAINED, ENSIGN_NOTICE_DRAINED)) != NULL) {
        n->as.drained.acked = h->stats.acked;
        n->as.drained.nacked = h->stats.nacked;
        n->as.drained.left = p->drain_left;
        return n;
    }
    return ensi_state_pull_end(h, h->stats.acked);
}

/* ---- public */

static void ensi_pub_free(ensign_t *c, ensi_handle_t *h)
{
    ensi_pub_t *p = (ensi_pub_t *)(void *)h;
    ensi_mem_t *m = &c->env.mem;
    ensi_state_free_call(c, &p->call);
    ensi_asker_free(c, &p->asker);
    ensi_topics_free(&p->topics, m);
    ensi_topics_free(&p->told, m);
    ensi_mem_free(m, p->ring);
    ensi_mem_free(m, p->entries);
    ensi_mem_free(m, p->topic);
    ensi_mem_free(m, p);
}

static const ensi_kind_t ensi_pub_kind = {
    "publisher", true, ensi_pub_has, ensi_pub_pull, ensi_pub_serve, ensi_pub_tick, ensi_pub_due,
    ensi_pub_close, NULL, ensi_pub_finish, ensi_pub_free, ensi_pub_open_next
};

static ensign_publisher_desc_t ensi_pub_defaults(const ensign_publisher_desc_t *d)
{
    ensign_publisher_desc_t x = *d;
    x.buffer_bytes = ensi_or(d->buffer_bytes, 1024 * 1024);
    x.max_event_bytes = ensi_or(d->max_event_bytes, ENSI_SERVER_MESSAGE_MAX);
    x.window_bytes = ensi_or(d->window_bytes, 64 * 1024);
    x.max_reply_bytes = ensi_or(d->max_reply_bytes, 1024 * 1024);
    x.max_in_flight = ensi_or(d->max_in_flight, 8192);
    x.ack_timeout_ms = ensi_or(d->ack_timeout_ms, 60000);
    return x;
}

size_t ensign_publisher_memory_bound(const ensign_publisher_desc_t *d)
{
    ensign_publisher_desc_t x = ensi_pub_defaults(d);
    size_t ring =
        ensi_max(x.buffer_bytes, (size_t)x.max_event_bytes + ENSI_TOPIC_NAME_MAX + ENSI_GRPC_PREFIX);
    size_t reply = ensi_max(x.window_bytes, x.max_reply_bytes);
    /* the map of topics and its orders take at most twice the reply, and a stream has two of them while a
     * notice needs the older; each counts here, though streams may share it; 8 KiB each for the end's text
     * and nghttp2 */
    return sizeof(ensi_pub_t) + ring + ((size_t)ensi_ring_mask(x.max_in_flight) + 1) * sizeof(ensi_entry_t) +
           reply +
           2 * ensi_topics_bound(x.max_reply_bytes) + ENSI_PUB_OPEN_BYTES + ensi_meta_bound(ENSI_GRPC_META) +
           8192 + ensign_str(x.topic).len + 512 + ENSI_ASK_BOUND;
}

static int ensi_pub_check_desc(ensign_t *c, const ensign_publisher_desc_t *x)
{
    static const char who[] = "publisher";
    int rc = ensi_state_may_open(c);
    if (rc != ENSIGN_OK) return rc;
    if (ensign_str(x->topic).len > ENSI_TOPIC_NAME_MAX)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT, "publisher: topic name of %lu bytes, %d are allowed",
                             (unsigned long)strlen(x->topic), ENSI_TOPIC_NAME_MAX);
    return ensi_state_size(c, who, "buffer_bytes", x->buffer_bytes, 1024, UINT32_MAX) &&
                   ensi_state_size(c, who, "max_event_bytes", x->max_event_bytes, 1024,
                                   ENSI_SERVER_MESSAGE_MAX) &&
                   ensi_state_size(c, who, "window_bytes", x->window_bytes, 1024, ENSI_GRPC_BYTES_MAX) &&
                   ensi_state_size(c, who, "max_reply_bytes", x->max_reply_bytes, 1024,
                                   ENSI_GRPC_BYTES_MAX) &&
                   /* beyond it the server drops acks in silence */
                   ensi_state_size(c, who, "max_in_flight", x->max_in_flight, 1, ENSI_PUB_IN_FLIGHT_MAX)
               ? ENSIGN_OK
               : ENSIGN_E_ARGUMENT;
}

ensign_publisher_t ensign_publisher_open(ensign_t *c, const ensign_publisher_desc_t *d)
{
    ensign_publisher_t none = { 0 };
    ensign_publisher_desc_t x = ensi_pub_defaults(d);
    ensi_grpc_opts_t o;
    ensi_pub_t *p;

    if (ensi_pub_check_desc(c, &x) != ENSIGN_OK) return none;
    o = ensi_grpc_opts("/ensign.v1beta1.Ensign/Publish", x.window_bytes, x.max_reply_bytes, "max_reply_bytes",
                       ENSI_PUB_OPEN_BYTES);
    p = (ensi_pub_t *)ensi_mem_zero(&c->env.mem, sizeof *p);
    if (p) p->topic = ensi_mem_text(&c->env.mem, x.topic);
    if (!p || !p->topic) ensi_env_memory(&c->env, sizeof *p);
    if (!p || !p->topic || ensi_grpc_init(&p->call, &c->env, &c->calls, &p->h, &o) != ENSIGN_OK) {
        if (p) ensi_pub_free(c, &p->h);
        return none;
    }
    p->call.more = ensi_pub_more;
    p->call.wait_for_ready = true;
    p->at_most_once = x.at_most_once;
    p->ensure_topic = x.ensure_topic;
    p->own_by_id = ensi_id_of_topic_text(ensign_str(p->topic), &p->own_id);
    p->quiet_acks = x.quiet_acks;
    p->buffer_bytes = x.buffer_bytes;
    p->max_event_bytes = x.max_event_bytes;
    p->max_reply_bytes = x.max_reply_bytes;
    p->max_in_flight = x.max_in_flight;
    p->mask = ensi_ring_mask(x.max_in_flight);
    p->ack_timeout_ms = x.ack_timeout_ms;
    p->nonce = ensi_rng_next(&c->env.rng);
    p->lent = UINT64_MAX;
    for (size_t i = 0; i < ENSI_PUB_TEXTS; i++) p->texts[i].count = UINT64_MAX;
    p->h.reopen = &p->reopen;
    none.id = ensi_state_add(c, &p->h, &ensi_pub_kind, &p->call, x.user);
    return none;
}

int ensign_publish(ensign_t *c, ensign_publisher_t handle, const ensign_event_t *e)
{
    int rc;
    ensi_pub_t *p = (ensi_pub_t *)(void *)ensi_state_find(c, handle.id, &ensi_pub_kind, &rc);
    ensign_event_t scratch;
    ensign_slice_t name;
    ensi_wire_sizes_t sizes;
    ensi_wire_stamp_t stamp;
    const ensi_wire_stamp_t *created;
    bool own;
    uint8_t local_id[ENSI_PUB_LOCAL_ID];
    size_t len, at;

    if (!p) return rc;
    e = ensi_pub_address(p, e, &scratch);
    name = ensign_str(e->topic);
    own = name.len == 0 && ensi_pub_no_id(&e->to_topic_id);
    rc = ensi_pub_check(c, p, e, name, own);
    if (rc != ENSIGN_OK) return rc;
    created = ensi_pub_created(c, e, &stamp);
    sizes = ensi_wire_measure(e, created);
    if (sizes.request > p->max_event_bytes)
        return ensi_env_fail(&c->env, ENSIGN_E_TOO_LARGE,
                             "publish: %lu bytes as encoded; max_event_bytes allows %lu, the server %d",
                             (unsigned long)sizes.request, (unsigned long)p->max_event_bytes,
                             ENSI_SERVER_MESSAGE_MAX);
    len = ENSI_GRPC_PREFIX + sizes.request;
    rc = ensi_pub_reserve(p, &c->env.mem, len + name.len, &at);
    if (rc == ENSIGN_E_MEMORY) return ensi_env_memory(&c->env, len);
    if (rc != ENSIGN_OK) {
        p->room_wanted = len + name.len;
        p->h.bits &= ~(uint32_t)ENSI_BIT_ROOM; /* of an earlier AGAIN: this event would not fit */
        ensi_state_ready(c, &p->h, ensi_pub_has(&p->h));
        return ensi_env_later(
            &c->env, rc,
            ensi_pub_slot_free(p, p->freed)
                ? "publish: buffer_bytes are full of events that wait for their answers; step, pull "
                  "notices, and publish it again at ROOM"
                : "publish: max_in_flight events wait for their answers, or for those to be pulled; "
                  "step, pull notices, and publish it again at ROOM");
    }
    ensi_put_be64(local_id, p->nonce);
    ensi_put_be64(local_id + 8, p->put);
    ensi_grpc_prefix(p->ring + at, sizes.request, false);
    ensi_wire_put_request(p->ring + at + ENSI_GRPC_PREFIX, e, &sizes, created, local_id);
    ensi_pub_commit(p, e, at, len, name, own);
    c->env.stats.published++;
    ensi_state_touch(c, &p->call);
    return ENSIGN_OK;
}

int ensign_publisher_drain(ensign_t *c, ensign_publisher_t handle, uint32_t timeout_ms)
{
    int rc;
    ensi_pub_t *p = (ensi_pub_t *)(void *)ensi_state_find(c, handle.id, &ensi_pub_kind, &rc);
    if (!p) return rc;
    p->drain_asked = true;
    p->h.bits &= ~(uint32_t)ENSI_BIT_DRAINED; /* of an earlier drain: it tells nothing of this one */
    ensi_state_ready(c, &p->h, p->h.kind->has(&p->h));
    ensi_timer_start(&p->drain_timer, timeout_ms);
    ensi_state_touch(c, &p->call);
    return ENSIGN_OK;
}

/* >>place   may call: util mem pb wire topic
 *           open to: sub
 * Places: how far a subscription has come in each of its topics
 *
 * Owns   `behind`: for each entry of the stream's map of topics the offset of the last event that was
 *        received of it, or behind which the stream began.
 * Holds  where there is a `behind` it is that of the map that the subscription has. `epoch` and `began` are
 *        of the last stream that was ready. `kept`: the server of that stream keeps places, and all that came
 *        had one; else nothing can be asked for, and a break is a gap.
 *        `owed` is the gap that is due unless the next stream begins where it was asked to.
 * Moves  a request names topics with their places, by ensi_places_next. The stream that is ready tells what
 *        became of it: ensi_places_ready. Its events move the places: ensi_places_take.
 *        The name of a topic is known from the map alone where it is asked for by its id, or by none. So a
 *        stream whose map has topics that were not named is not used, and opened again at once, which names
 *        them; a few times in a row. A topic that is new has its place where the stream before began.
 * Fails  no memory for a map's places: the stream ends, and what was known stays. */
typedef struct ensi_places_t {
    bool resume;                    /* as in the desc, as the next */
    uint64_t from;
    bool group;                     /* the group keeps the places: none are kept here */
    bool unnamed;                   /* the desc does not name each topic by its name */
    bool begun;                     /* a stream was ready */
    bool kept;
    bool asked;                     /* the request that is out names topics with their places */
    uint32_t again;                 /* streams in a row that were not used, as topics were not named */
    int owed;                       /* the code; 0: none */
    uint64_t epoch, began;
    uint64_t *behind;               /* NULL: a place is `from` */
    ensign_ulid_t id;               /* the topic of the last event, */
    uint64_t *at;                   /* and where its place is; NULL: to be looked up */
} ensi_places_t;

/* What the server tells of the stream, by the header ensign-place: in which epoch of the log it is, and where
 * it began: behind this offset where a topic was not named. No place lies behind it. */
typedef struct ensi_offset_t { uint64_t epoch, offset; } ensi_offset_t;

static const char ensi_place_header[] = "ensign-place";

enum { ENSI_PLACES_AGAIN = 4 };     /* streams in a row, where topics are made all the time */

/* ---- reading */

/* A number of 64 bits, in digits; *at is moved behind it. */
static bool ensi_place_number(const uint8_t **at, const uint8_t *end, uint64_t *number)
{
    const uint8_t *p = *at;
    uint64_t n = 0;
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        unsigned digit = *p - (unsigned)'0';
        if (n > (UINT64_MAX - digit) / 10) return false;
        n = n * 10 + digit;
    }
    *number = n;
    if (p == *at) return false;
    *at = p;
    return true;
}

/* The value of the header: "EPOCH OFFSET". */
static bool ensi_place_parse(ensign_slice_t value, ensi_offset_t *place)
{
    const uint8_t *p = value.ptr, *end = p + value.len;
    return ensi_place_number(&p, end, &place->epoch) && p < end && *p++ == ' ' &&
           ensi_place_number(&p, end, &place->offset) && p == end;
}

/* The topic and the place of an event, from the first bytes of a SubscribeReply in the usual order. `len`: so
 * many of them are here. */
static bool ensi_place_peek(const uint8_t *bytes, size_t len, ensign_ulid_t *topic, ensi_offset_t *place)
{
    ensi_wire_t w = ensi_wire_open(ensi_slice(bytes, len));
    uint8_t id[ENSI_WIRE_RLID];
    uint64_t inside;
    place->epoch = place->offset = 0;
    return ensi_wire_is(&w, ENSI_WIRE_BYTES(ENSI_PB_SUBSCRIBE_REPLY_EVENT_TAG)) &&
           ensi_wire_varint(&w, &inside) &&
           ensi_wire_id(&w, ENSI_PB_EVENT_WRAPPER_ID_TAG, id, sizeof id) &&
           ensi_wire_id(&w, ENSI_PB_EVENT_WRAPPER_TOPIC_ID_TAG, topic->b, sizeof topic->b) &&
           ensi_wire_number(&w, ENSI_PB_EVENT_WRAPPER_OFFSET_TAG, UINT64_MAX, &place->offset) &&
           ensi_wire_number(&w, ENSI_PB_EVENT_WRAPPER_EPOCH_TAG, UINT64_MAX, &place->epoch) &&
           place->offset != 0 && place->epoch != 0;
}

/* The same, from a whole message in any order. */
static bool ensi_place_read(const uint8_t *bytes, size_t len, ensign_ulid_t *topic, ensi_offset_t *place)
{
    ensign_event_t e;
    if (ensi_place_peek(bytes, len, topic, place)) return true;
    if (!ensi_event_read(&e, ensi_slice(bytes, len), false)) return false;
    *topic = e.topic_id;
    place->offset = e.offset;
    place->epoch = e.epoch;
    return place->offset != 0;
}

/* ---- where each topic is */

/* Has the next stream that is ready to be looked at? */
static bool ensi_places_on(const ensi_places_t *p)
{
    return p->resume || (p->from != ENSIGN_FROM_LIVE && !p->begun);
}

static void ensi_places_free(ensi_places_t *p, ensi_mem_t *m)
{
    ensi_mem_free(m, p->behind);
    p->behind = p->at = NULL;
}

/* The most that they take beside a map that came in a message of so many bytes: old ones and new ones, for
 * entries of 22 bytes or more. */
static size_t ensi_places_bound(size_t message)
{
    return 2 * (message / 22 * sizeof(uint64_t) + sizeof(uint64_t) + ENSI_MEM_HEADER);
}

/* Must the names of the topics be learnt first, by a stream that is not used? */
static bool ensi_places_learn(const ensi_places_t *p, const ensi_topics_t *map)
{
    return p->from != ENSIGN_FROM_LIVE && p->unnamed && !map->block;
}

/* Does a request name topics with their places? A group needs them where it is new, and the server knows. */
static bool ensi_places_ask(const ensi_places_t *p, const ensi_topics_t *map)
{
    if (ensi_places_learn(p, map)) return false;
    return p->begun && !p->group ? p->kept && p->behind : p->from != ENSIGN_FROM_LIVE;
}

/* The topics that a request names, with their places: those of the map, or without one those of the desc,
 * which are in `filter` as the request has them. *at is 0 at the start. */
static bool ensi_places_next(const ensi_places_t *p, const ensi_topics_t *map, ensign_slice_t filter,
                             size_t *at, ensign_slice_t *name, uint64_t *behind)
{
    ensign_ulid_t id;
    *behind = p->from - 1;
    if (!map->block) return ensi_pb_span_next(filter, ENSI_PB_SUBSCRIPTION_TOPICS_TAG, at, name);
    if (!ensi_topics_next(map, at, name, &id)) return false;
    if (p->behind) *behind = p->behind[*at - 1];
    return true;
}

static size_t ensi_place_entry_size(ensign_slice_t name, uint64_t behind)
{
    return ensi_pb_bytes_size(ENSI_PB_CONSUMER_GROUP_TOPIC_OFFSETS_ENTRY_KEY_TAG, name.len) +
           ensi_wire_number_size(behind);
}

/* The size of topic_offsets; ensi_places_put writes as many bytes. */
static size_t ensi_places_size(const ensi_places_t *p, const ensi_topics_t *map, ensign_slice_t filter)
{
    ensign_slice_t name;
    uint64_t behind;
    size_t at = 0, size = 0;
    while (ensi_places_next(p, map, filter, &at, &name, &behind))
        size += ensi_pb_bytes_size(ENSI_PB_CONSUMER_GROUP_TOPIC_OFFSETS_TAG,
                                   ensi_place_entry_size(name, behind));
    return size;
}

static void ensi_places_put(const ensi_places_t *p, const ensi_topics_t *map, ensign_slice_t filter,
                            uint8_t *out)
{
    ensign_slice_t name;
    uint64_t behind;
    size_t at = 0;
    while (ensi_places_next(p, map, filter, &at, &name, &behind)) {
        out = ensi_pb_put_head(out, ENSI_PB_CONSUMER_GROUP_TOPIC_OFFSETS_TAG,
                               ensi_place_entry_size(name, behind));
        out = ensi_pb_put_bytes(out, ENSI_PB_CONSUMER_GROUP_TOPIC_OFFSETS_ENTRY_KEY_TAG, name);
        out = ensi_wire_put_number(out, ENSI_PB_CONSUMER_GROUP_TOPIC_OFFSETS_ENTRY_VALUE_TAG, behind);
    }
}

/* ---- a stream begins */

/* Carries the places over to a new map. What was not named has the place `fresh`, and counts in *unnamed;
 * *most is the highest place that was named. False: no memory. */
static bool ensi_places_renew(ensi_places_t *p, ensi_mem_t *m, const ensi_topics_t *map,
                              const ensi_topics_t *before, ensign_slice_t filter, uint64_t fresh,
                              size_t *unnamed, uint64_t *most)
{
    uint64_t *places = (uint64_t *)ensi_mem_take(m, (map->count + 1) * sizeof *places), behind;
    ensign_slice_t name;
    ensign_ulid_t id;
    size_t at = 0;
    if (!places) return false;
    for (size_t i = 0; i < map->count; i++) places[i] = UINT64_MAX;
    while (p->asked && ensi_places_next(p, before, filter, &at, &name, &behind)) {
        const ensi_topic_entry_t *e = ensi_topics_find(map, map->by_name, name);
        if (e) places[e - map->entries] = behind;
        *most = behind > *most ? behind : *most;
    }
    at = 0;
    while (ensi_topics_next(map, &at, &name, &id)) *unnamed += places[at - 1] == UINT64_MAX;
    for (size_t i = 0; i < map->count; i++)
        if (places[i] == UINT64_MAX) places[i] = fresh;
    ensi_places_free(p, m);
    p->behind = places;
    return true;
}

/* The stream is accepted. */
static void ensi_places_begin(ensi_places_t *p, ensi_mem_t *m, const ensi_topics_t *map,
                              const ensi_offset_t *place)
{
    for (size_t i = 0; p->behind && i < map->count; i++) /* as the server has begun */
        if (p->behind[i] > place->offset) p->behind[i] = place->offset;
    if (!p->resume) ensi_places_free(p, m); /* it was for the beginning alone */
    p->epoch = place->epoch;
    p->began = place->offset;
    p->begun = true;
    p->again = 0;
    p->owed = 0;
}

/* A stream is ready, with this map; the one before had `before`. place: where the server says that it began;
 * NULL: it keeps no places. OK: *gap is the code of the gap that stands before its events, or 0. AGAIN: it
 * must be opened again. E_MEMORY: nothing has changed. */
static int ensi_places_ready(ensi_places_t *p, ensi_mem_t *m, const ensi_topics_t *map,
                             const ensi_topics_t *before, ensign_slice_t filter, const ensi_offset_t *place,
                             int *gap)
{
    static const ensi_offset_t none = { 0, 0 };
    size_t unnamed = 0;
    uint64_t most = 0, fresh;
    bool same;
    if (!place) {
        ensi_places_free(p, m);
        p->kept = p->asked = false;
        *gap = p->owed;
        ensi_places_begin(p, m, map, &none);
        return ENSIGN_OK;
    }
    if (ensi_places_learn(p, before)) return ENSIGN_AGAIN;
    same = !p->begun || place->epoch == p->epoch;
    fresh = !p->asked ? place->offset : p->begun ? p->began : p->from - 1;
    if (!p->group && !ensi_places_renew(p, m, map, before, filter, fresh, &unnamed, &most))
        return ENSIGN_E_MEMORY;
    if (p->asked && same && most <= place->offset && unnamed > 0 && p->again < ENSI_PLACES_AGAIN) {
        p->again++;
        return ENSIGN_AGAIN;
    }
    *gap = p->owed;
    if (!same || most > place->offset) *gap = p->owed ? ENSIGN_E_DATA_LOSS : 0;
    else if (p->group ? p->begun || p->asked : p->asked && unnamed == 0) *gap = 0;
    p->kept = true;
    ensi_places_begin(p, m, map, place);
    return ENSIGN_OK;
}

/* ---- an event comes */

/* Where the place of a topic is; NULL: the map has no such topic. */
static uint64_t *ensi_places_at(ensi_places_t *p, const ensi_topics_t *map, const ensign_ulid_t *topic)
{
    const ensi_topic_entry_t *e;
    if (p->at && memcmp(p->id.b, topic->b, sizeof topic->b) == 0) return p->at;
    e = ensi_topics_find(map, map->by_id, ensi_slice(topic->b, sizeof topic->b));
    p->id = *topic;
    p->at = e ? &p->behind[e - map->entries] : NULL;
    return p->at;
}

/* Notes the place of an event. False: it has come before, and is not to be given again. */
static bool ensi_places_note(ensi_places_t *p, const ensi_topics_t *map, const ensign_ulid_t *topic,
                             const ensi_offset_t *place)
{
    uint64_t *at = place->epoch == p->epoch ? ensi_places_at(p, map, topic) : NULL;
    if (!at) {
        p->kept = false; /* it cannot be told from where to go on */
        return true;
    }
    if (p->asked && place->offset <= *at) return false;
    *at = place->offset;
    return true;
}

/* The same, where there are places, of a message of `len` bytes, of which the first ones are `here`. Where
 * these are too few to tell, it moves nothing: the event can come again, behind a break. */
static bool ensi_places_take(ensi_places_t *p, const ensi_topics_t *map, const uint8_t *bytes, size_t here,
                             size_t len)
{
    ensign_ulid_t topic = { { 0 } };
    ensi_offset_t place;
    if (!p->kept) return true;
    if (here < len) return !ensi_place_peek(bytes, here, &topic, &place) ||
                           ensi_places_note(p, map, &topic, &place);
    if (ensi_place_read(bytes, len, &topic, &place)) return ensi_places_note(p, map, &topic, &place);
    p->kept = false;
    return true;
}

/* >>catchup   may call: util mem h2 env pb grpc topic state ping
 *             open to: sub
 * What a subscription has missed, read by EnSQL, for a server that keeps no places
 *
 * Owns   for one subscription: the place of each topic of its stream's map, and a call that asks one question
 *        at a time. A place is the RLID of the topic's last event that was given and, as a guess, the count
 *        of stored events up to it, which is what OFFSET counts.
 * Holds  the server stores and delivers the events of a project in the order of their RLIDs. So an event was
 *        given before where its RLID is not above its topic's place, and is missing where it is. `floor`, the
 *        last event of the stream, is a place in each topic that has no other.
 *        What a stream brings is held by its owner while this is in SEAM.
 *        Rows that were not pulled are in the receive buffer, and beyond that at the server.
 * Moves  OFF -> ENDS: the first stream has told which topics there are, and is closed again. Where each topic
 *        ends is found out before the stream begins that is given, so that a quiet topic has a place too.
 *        OFF -> READS: the stream was lost. Each topic is read from its place on, round by round, until one
 *        round finds few events in each of them. A place is checked by the row that stands there; where it is
 *        another one, a bisection by OFFSET n LIMIT 1 finds the place.
 *        -> OPEN: the owner opens the stream, whose `ready` leads to SEAM: each topic is read once more.
 *        A stream that is lost before SEAM is over leads back to READS. `state` is assigned by
 *        ensi_catchup_move alone.
 * Fails  what the server may answer another time is asked again, under the owner's backoff; where it does not
 *        help, and where a name cannot be asked for, a GAP tells why, and the topic is passed over until the
 *        stream stands. */
typedef enum {
    ENSI_CATCHUP_OFF,
    ENSI_CATCHUP_ENDS,
    ENSI_CATCHUP_READS,
    ENSI_CATCHUP_OPEN,
    ENSI_CATCHUP_SEAM,
    ENSI_CATCHUP_STATES
} ensi_catchup_state_t;
typedef enum {
    ENSI_CATCHUP_ON_MAP,            /* the first map of topics is there */
    ENSI_CATCHUP_ON_DONE,           /* nothing more is to be asked */
    ENSI_CATCHUP_ON_READY,
    ENSI_CATCHUP_ON_LOST,
    ENSI_CATCHUP_INPUTS
} ensi_catchup_in_t;

static const ensi_move_t ensi_catchup_moves[] = {
    { ENSI_CATCHUP_OFF,   ENSI_CATCHUP_ON_MAP,   ENSI_CATCHUP_ENDS  },
    { ENSI_CATCHUP_OFF,   ENSI_CATCHUP_ON_LOST,  ENSI_CATCHUP_READS },
    { ENSI_CATCHUP_ENDS,  ENSI_CATCHUP_ON_DONE,  ENSI_CATCHUP_OPEN  },
    { ENSI_CATCHUP_READS, ENSI_CATCHUP_ON_DONE,  ENSI_CATCHUP_OPEN  },
    { ENSI_CATCHUP_OPEN,  ENSI_CATCHUP_ON_READY, ENSI_CATCHUP_SEAM  },
    { ENSI_CATCHUP_OPEN,  ENSI_CATCHUP_ON_LOST,  ENSI_CATCHUP_READS },
    { ENSI_CATCHUP_SEAM,  ENSI_CATCHUP_ON_DONE,  ENSI_CATCHUP_OFF   },
    { ENSI_CATCHUP_SEAM,  ENSI_CATCHUP_ON_LOST,  ENSI_CATCHUP_READS },
};

enum {
    ENSI_CATCHUP_RLID = 10,
    ENSI_CATCHUP_FEW = 64,          /* events: a query that brings more is followed by another one */
    ENSI_CATCHUP_ASKED = 64,        /* questions for one place at most; topics whose end is found out */
    ENSI_CATCHUP_LEAP = 16,         /* by which the steps of a bisection grow until it has both sides */
    ENSI_CATCHUP_TRIES = 5,         /* of a question that the server fails to answer */
    ENSI_CATCHUP_OUT = 1024,        /* bytes: no request is longer */
    ENSI_CATCHUP_ENTRY = 23,        /* bytes: no entry of a map of topics is shorter */
    ENSI_CATCHUP_SQL = 64           /* bytes of a query beside the topic's name */
};

/* ---- bisection: how many of a topic's rows are at or before a place */

typedef struct ensi_bisect_t {
    uint64_t low, high;             /* the rows before `low` are; that at `high`, if there is one, is not */
    uint64_t guess, step;
    bool below, above;              /* an answer told `low`, `high` */
    unsigned asked;
} ensi_bisect_t;

static void ensi_bisect_begin(ensi_bisect_t *b, uint64_t guess)
{
    memset(b, 0, sizeof *b);
    b->high = UINT64_MAX;
    b->guess = guess;
    b->step = 1;
}

/* The row to ask for. It begins at the guess and leaps away from it, so that a good guess costs two
 * questions. False: `low` is the answer. */
static bool ensi_bisect_next(const ensi_bisect_t *b, uint64_t *at)
{
    uint64_t room = b->high - b->low, leap = b->step <= room ? b->step : room;
    if (room == 0) return false;
    if (!b->above) *at = b->below ? b->low + leap - 1 : b->guess;
    else if (!b->below) *at = b->high > b->step ? b->high - b->step : 0;
    else *at = b->low + (b->high - b->low) / 2;
    return true;
}

/* `before` is true if the row at `at` is the place or stands before it. It is false if the row stands behind
 * the place, or if the topic has fewer rows. */
static void ensi_bisect_answer(ensi_bisect_t *b, uint64_t at, bool before)
{
    bool leaps = before ? !b->above && b->below : !b->below && b->above;
    if (leaps && b->step < (uint64_t)1 << 59) b->step *= ENSI_CATCHUP_LEAP;
    if (before) b->low = at + 1;
    else b->high = at;
    b->below = b->below || before;
    b->above = b->above || !before;
    b->asked++;
}

/* ---- places */

typedef struct ensi_catchup_place_t {
    uint8_t last[ENSI_CATCHUP_RLID]; /* the event; zeros: the place is before the first one */
    uint8_t mark[ENSI_CATCHUP_RLID]; /* the event in the row before `next`, mostly `last`; zeros: none */
    uint64_t next;                  /* the row that is to be read next */
    bool known;                     /* else `floor` is the place, if there is one */
    bool counted;                   /* `next` was an answer once; events of the stream were added */
    bool anew, told;                /* the topic has been made anew; a GAP has told it */
    bool passed;                    /* a GAP stands for what is missing: until the next break */
} ensi_catchup_place_t;

typedef enum { ENSI_CATCHUP_IDLE, ENSI_CATCHUP_PROBE, ENSI_CATCHUP_READ } ensi_catchup_question_t;

typedef struct ensi_catchup_t {
    ensi_call_t call;
    ensi_catchup_state_t state;
    ensi_catchup_question_t question;   /* that the call asks, or whose rows are still in its buffer */
    bool asking;
    bool hit;                       /* a probe was answered by a row */
    bool row;                       /* an event that is to be given heads the buffer */
    bool gap;                       /* `fault` tells of one, of the topic `gap_at`, that is to be given */
    bool check;                     /* the next row must be the topic's last event */
    bool probing;                   /* `bisect` is in use */
    bool many;                      /* a query of this round brought more than a few events */
    size_t at, gap_at;              /* topics: entries of the map */
    uint64_t row_at;                /* of the row that is asked for, or comes next */
    uint32_t rows;                  /* that the query has given */
    uint32_t tries;                 /* for the topic, that failed */
    ensi_bisect_t bisect;
    uint8_t before[ENSI_CATCHUP_RLID];  /* the event before its `low` */
    uint8_t floor[ENSI_CATCHUP_RLID];   /* zeros: the stream has given no event yet */
    ensi_topics_t map;
    ensi_catchup_place_t *places;   /* one for each entry */
    ensi_timer_t quiet;             /* nothing more of an answer comes */
    size_t seen;                    /* bytes of it that were here when `quiet` was started */
    size_t window, limit;
    ensign_error_t fault;           /* the GAP's */
} ensi_catchup_t;

static bool ensi_catchup_move(ensi_catchup_t *x, ensi_catchup_in_t in)
{
    int to = ensi_move(ensi_catchup_moves, ENSI_COUNT(ensi_catchup_moves), (int)x->state, (int)in);
    if (to < 0) return false;
    x->state = (ensi_catchup_state_t)to;
    return true;
}

/* Zeros stand for none, and are before all others. */
static bool ensi_catchup_is_none(const uint8_t *id)
{
    static const uint8_t none[ENSI_CATCHUP_RLID] = { 0 };
    return memcmp(id, none, sizeof none) == 0;
}

/* The place by its RLID. */
static const uint8_t *ensi_catchup_after(const ensi_catchup_t *x, const ensi_catchup_place_t *p)
{
    return p->known ? p->last : x->floor;
}

/* ---- which names EnSQL can read, as of server 0.12 */

/* Says why EnSQL cannot read this name; NULL: it can. EnSQL looks for keywords at the beginning of a name,
 * and takes a dot for the end of it. */
static const char *ensi_catchup_unreadable(ensign_slice_t name)
{
    static const char *const keywords[] = { "select", "from", "where", "as",   "offset",
                                            "limit",  "and",  "or",    "like", "ilike" };
    static const char *const truths[] = { "t", "T", "true",  "True",  "TRUE",
                                          "f", "F", "false", "False", "FALSE" };
    for (size_t i = 0; i < name.len; i++) {
        uint8_t ch = name.ptr[i];
        bool letter = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
        bool other = (ch >= '0' && ch <= '9') || ch == '-';
        if (!letter && ch != '_' && !(other && i > 0)) return "it holds more than letters, digits, _ and -";
    }
    for (size_t i = 0; i < ENSI_COUNT(keywords); i++) {
        size_t len = strlen(keywords[i]);
        if (name.len >= len && ensi_slice_is_word(ensi_slice(name.ptr, len), keywords[i]))
            return "it begins with a keyword";
    }
    for (size_t i = 0; i < ENSI_COUNT(truths); i++)
        if (ensi_slice_is(name, truths[i])) return "it is a boolean";
    return name.len == 0 || name.len > ENSI_TOPIC_NAME_MAX ? "its length" : NULL;
}

/* The name of the topic `at`. False: a later entry of the map counts in its place. */
static bool ensi_catchup_name(const ensi_catchup_t *x, size_t at, ensign_slice_t *name)
{
    ensign_ulid_t id;
    size_t next = at;
    return ensi_topics_next(&x->map, &next, name, &id) && next == at + 1;
}

/* ---- gaps */

/* What is missing of the topic `at` cannot be had. A text of ours stands behind its name. */
static void ensi_catchup_tell(ensign_t *c, ensi_catchup_t *x, size_t at, int code, const char *why)
{
    ensign_slice_t name = ensi_slice(NULL, 0);
    (void)ensi_catchup_name(x, at, &name);
    x->gap = true;
    x->gap_at = at;
    ensi_fail(&x->fault, code, 0, "subscribe: events of topic %.*s can be missing here: %.170s",
              (int)ensi_min(name.len, 40), (const char *)name.ptr, why);
    ENSI_LOG((&c->env, ENSIGN_LOG_WARNING, "%s", x->fault.text));
    (void)c;
}

/* As above, and the topic is passed over from now on. */
static void ensi_catchup_pass(ensign_t *c, ensi_catchup_t *x, int code, const char *why)
{
    ensi_catchup_place_t *p = &x->places[x->at];
    if (x->state != ENSI_CATCHUP_ENDS) ensi_catchup_tell(c, x, x->at, code, why);
    p->passed = true;
    p->known = false;
}

/* ---- what is asked next */

static void ensi_catchup_leave(ensi_catchup_t *x)
{
    x->at++;
    x->probing = false;
    x->tries = 0;
}

static void ensi_catchup_probe(ensi_catchup_t *x, uint64_t guess)
{
    ensi_bisect_begin(&x->bisect, guess);
    memset(x->before, 0, sizeof x->before);
    x->probing = true;
}

/* The bisection of a topic is over. Where the last event is not found again, the topic has been made anew. */
static void ensi_catchup_found(ensi_catchup_t *x)
{
    ensi_catchup_place_t *p = &x->places[x->at];
    bool had = p->known && !ensi_catchup_is_none(p->last);
    if (had && memcmp(p->last, x->before, sizeof p->last) != 0) p->anew = true;
    if (!p->known) memcpy(p->last, x->before, sizeof p->last);
    memcpy(p->mark, x->before, sizeof p->mark);
    p->next = x->bisect.low;
    p->known = p->counted = true;
    x->probing = false;
}

/* May its rows be read from the place on, or has that to be found before? */
static bool ensi_catchup_placed(const ensi_catchup_place_t *p)
{
    return p->known && (p->counted || ensi_catchup_is_none(p->last));
}

/* Is there anything to do for the topic `at`? A GAP may be the answer. */
static bool ensi_catchup_wants(ensign_t *c, ensi_catchup_t *x)
{
    ensi_catchup_place_t *p = &x->places[x->at];
    ensign_slice_t name;
    const char *why;
    char text[80];
    if (p->passed || !ensi_catchup_name(x, x->at, &name)) return false;
    if (x->state == ENSI_CATCHUP_ENDS && p->known) return false;
    why = ensi_catchup_unreadable(name);
    if (why) {
        ensi_fmt(text, sizeof text, "EnSQL cannot read this name, as %.40s", why);
        ensi_catchup_pass(c, x, ENSIGN_E_UNIMPLEMENTED, text);
        return false;
    }
    if (x->state == ENSI_CATCHUP_ENDS || p->known || !ensi_catchup_is_none(x->floor)) return true;
    ensi_catchup_pass(c, x, ENSIGN_E_CLOSED, "the stream ended before its place in the topic was known");
    return false;
}

/* Chooses the question for the topic `at`. Returns false if the topic needs no question, or if a GAP has to
 * be given first. */
static bool ensi_catchup_choose(ensign_t *c, ensi_catchup_t *x)
{
    ensi_catchup_place_t *p = &x->places[x->at];
    if (!x->probing && !ensi_catchup_wants(c, x)) return false;
    if (!x->probing && !(x->state != ENSI_CATCHUP_ENDS && ensi_catchup_placed(p)))
        ensi_catchup_probe(x, p->next);
    if (x->probing) {
        x->question = ENSI_CATCHUP_PROBE;
        if (x->bisect.asked == ENSI_CATCHUP_ASKED) {
            ensi_catchup_pass(c, x, ENSIGN_E_OUT_OF_RANGE, "64 questions have not found its place");
            return false;
        }
        if (ensi_bisect_next(&x->bisect, &x->row_at)) return true;
        ensi_catchup_found(x);
        if (x->state == ENSI_CATCHUP_ENDS) return false;
    }
    x->question = ENSI_CATCHUP_READ;
    x->check = !ensi_catchup_is_none(p->mark);
    x->row_at = x->check ? p->next - 1 : p->next;
    x->rows = 0;
    if (p->anew && !p->told) {
        p->told = true;
        ensi_catchup_tell(c, x, x->at, ENSIGN_E_DATA_LOSS,
                          "the topic was made anew; what the one before had got since is gone");
    }
    return true;
}

/* Goes on to the next question of this state. False: a GAP goes before it, or the state is over. */
static bool ensi_catchup_advance(ensign_t *c, ensi_catchup_t *x)
{
    while (!x->gap) {
        if (x->at < x->map.count && ensi_catchup_choose(c, x)) return !x->gap;
        if (x->at < x->map.count) {
            ensi_catchup_leave(x);
            continue;
        }
        x->at = 0;
        if (x->state == ENSI_CATCHUP_READS && x->many) {
            x->many = false;
            continue;
        }
        ensi_must(ensi_catchup_move(x, ENSI_CATCHUP_ON_DONE));
        return false;
    }
    return false;
}

/* ---- asking */

static void ensi_catchup_sql(const ensi_catchup_t *x, char *out, size_t cap)
{
    ensign_slice_t name = ensi_slice(NULL, 0);
    ensi_text_t t;
    (void)ensi_catchup_name(x, x->at, &name);
    ensi_text_begin(&t, out, cap);
    ensi_text_puts(&t, "SELECT * FROM ");
    ensi_text_put(&t, name.ptr, name.len);
    ensi_text_puts(&t, " OFFSET ");
    ensi_text_number(&t, x->row_at, 'u', 0);
    if (x->question == ENSI_CATCHUP_PROBE) ensi_text_puts(&t, " LIMIT 1");
    ensi_text_end(&t, cap);
}

/* False: no memory. */
static bool ensi_catchup_ask(ensi_catchup_t *x)
{
    char sql[(size_t)ENSI_TOPIC_NAME_MAX + ENSI_CATCHUP_SQL];
    ensi_pb_query_t message;
    size_t size = 0;
    uint8_t *out;
    ensi_catchup_sql(x, sql, sizeof sql);
    memset(&message, 0, sizeof message);
    message.query = ensign_str(sql);
    message.include_duplicates = true;
    ensi_call_rewind(&x->call);
    x->call.messages = 0;
    x->call.refused = false;
    if (!ensi_pb_size(ensi_pb_query_fields, &message, &size) ||
        ensi_call_restart(&x->call, size, &out) != ENSIGN_OK ||
        !ensi_pb_encode(ensi_pb_query_fields, &message, out, size, &size))
        return false;
    ensi_grpc_commit(&x->call, size, 0);
    x->call.half_closed = true;
    ensi_grpc_queue(&x->call);
    x->asking = true;
    x->hit = false;
    return true;
}

/* Ends the question that is asked; its rows that are not lent go. */
static void ensi_catchup_drop(ensi_catchup_t *x)
{
    ensi_grpc_abort(&x->call, ENSIGN_GRPC_CANCELLED, ENSIGN_E_CANCELLED, "asked for no more");
    ensi_rx_truncate(&x->call.s.rx, 0);
    ensi_timer_stop(&x->quiet);
    x->asking = x->row = false;
}

/* ---- answers */

/* An event up to here was given, or a gap stands for it. */
static void ensi_catchup_note(ensi_catchup_t *x, const uint8_t *id)
{
    ensi_catchup_place_t *p = &x->places[x->at];
    memcpy(p->last, id, sizeof p->last);
    memcpy(p->mark, id, sizeof p->mark);
    p->next = ++x->row_at;
    p->known = p->counted = true;
    x->tries = 0;
    x->rows++;
}

/* The next row: as far as it is here. */
typedef struct ensi_catchup_row_t {
    uint8_t id[ENSI_CATCHUP_RLID];
    size_t here, rest;              /* bytes of its message; rest: of one that is too large, still to come */
    int fault;                      /* why it cannot be given; OK: it can */
} ensi_catchup_row_t;

/* OK; AGAIN: it is not here yet; or < 0: the call must end. A row begins with its id, so one that is too
 * large has a place too. */
static int ensi_catchup_read(ensi_catchup_t *x, ensi_catchup_row_t *row)
{
    enum { HEAD = 2 + ENSI_CATCHUP_RLID, ID = 0x0A };
    ensign_slice_t bytes;
    ensign_event_t e;
    int rc = ensi_msg_peek(&x->call, &bytes);
    bool large = rc == ENSIGN_E_TOO_LARGE;
    if (rc != ENSIGN_OK && !large) return rc;
    row->here = ensi_min(bytes.len, ensi_rx_waiting(&x->call.s.rx) - ENSI_GRPC_PREFIX);
    row->rest = bytes.len - row->here;
    row->fault = large ? rc : ENSIGN_OK;
    if (large && row->here < HEAD) return ENSIGN_AGAIN;
    if (!large && ensi_event_read(&e, bytes, true)) {
        memcpy(row->id, e.id.b, sizeof row->id);
    } else {
        if (!large) row->fault = ENSIGN_E_FORMAT;
        memset(row->id, 0, sizeof row->id);
        if (row->here >= HEAD && bytes.ptr[0] == ID && bytes.ptr[1] == ENSI_CATCHUP_RLID)
            memcpy(row->id, bytes.ptr + 2, sizeof row->id);
    }
    if (!ensi_catchup_is_none(row->id)) return ENSIGN_OK;
    return ensi_fail(&x->call.fault, ENSIGN_E_FORMAT, 0, "grpc: a row of %s has no id of an event",
                     x->call.method);
}

typedef enum { ENSI_CATCHUP_GIVE, ENSI_CATCHUP_SKIP, ENSI_CATCHUP_STOP } ensi_catchup_verdict_t;

/* What becomes of a row that has this id? STOP: the place is another one, and the question is of no use. */
static ensi_catchup_verdict_t ensi_catchup_judge(ensi_catchup_t *x, const uint8_t *id)
{
    const ensi_catchup_place_t *p = &x->places[x->at];
    if (x->question == ENSI_CATCHUP_PROBE) {
        bool before =
            x->state == ENSI_CATCHUP_ENDS || memcmp(id, ensi_catchup_after(x, p), sizeof p->last) <= 0;
        if (!x->hit) ensi_bisect_answer(&x->bisect, x->row_at, before);
        if (!x->hit && before) memcpy(x->before, id, sizeof x->before);
        x->hit = true;
        return ENSI_CATCHUP_SKIP;
    }
    if (x->check && memcmp(id, p->mark, sizeof p->mark) != 0) return ENSI_CATCHUP_STOP;
    if (!x->check && memcmp(id, p->last, sizeof p->last) > 0) return ENSI_CATCHUP_GIVE;
    x->check = false;
    x->row_at++;
    return ENSI_CATCHUP_SKIP;
}

/* The row that heads the buffer goes, and is not given. */
static void ensi_catchup_skip(ensi_catchup_t *x, const ensi_catchup_row_t *row)
{
    ensi_rx_skip(&x->call.s.rx, row->rest);
    ensi_rx_remove(&x->call.s.rx, 0, ENSI_GRPC_PREFIX + row->here);
    x->call.s.moved = true;
    x->call.messages++;
}

/* Ends the call from here, with that status. What it has brought and nobody has looked at goes. */
static void ensi_catchup_stop(ensi_catchup_t *x, int status)
{
    ensign_error_t why = x->call.fault;
    ensi_grpc_abort(&x->call, status, why.code, "%s", why.text);
    x->call.fault = why;
    x->call.end_status = status;
    x->call.from_server = false;
    ensi_rx_truncate(&x->call.s.rx, 0);
}

/* Looks at what has come, up to an event that is to be given, or a gap in its place. */
static void ensi_catchup_look(ensign_t *c, ensi_catchup_t *x)
{
    ensi_catchup_row_t row;
    int rc;
    while (x->asking && !x->row && !x->gap && (rc = ensi_catchup_read(x, &row)) != ENSIGN_AGAIN) {
        ensi_catchup_verdict_t verdict = rc < 0 ? ENSI_CATCHUP_STOP : ensi_catchup_judge(x, row.id);
        if (verdict == ENSI_CATCHUP_STOP) {
            ensi_catchup_stop(x, rc < 0 ? ensi_grpc_status_of(rc) : ENSIGN_GRPC_OK);
            return;
        }
        x->row = verdict == ENSI_CATCHUP_GIVE && row.fault == ENSIGN_OK;
        if (x->row) return;
        if (verdict == ENSI_CATCHUP_GIVE) {
            ensi_catchup_note(x, row.id);
            ensi_catchup_tell(c, x, x->at, row.fault,
                              row.fault == ENSIGN_E_TOO_LARGE
                                  ? "an event is larger than max_event_bytes, and is left out"
                                  : "one of its rows cannot be read as an Event, and is left out");
        }
        ensi_catchup_skip(x, &row);
    }
}

/* Is it up to the way to the server, which is tried again for as long as the owner lives? */
static bool ensi_catchup_is_cut(const ensi_call_t *call)
{
    return call->s.lost || call->fault.code == ENSIGN_E_GOAWAY || call->end_status == ENSIGN_GRPC_UNAVAILABLE;
}

/* Does the server refuse for good? */
static bool ensi_catchup_is_final(const ensi_call_t *call)
{
    switch (call->end_status) {
    case ENSIGN_GRPC_INVALID_ARGUMENT:
    case ENSIGN_GRPC_NOT_FOUND:
    case ENSIGN_GRPC_PERMISSION_DENIED:
    case ENSIGN_GRPC_FAILED_PRECONDITION:
    case ENSIGN_GRPC_OUT_OF_RANGE:
    case ENSIGN_GRPC_UNIMPLEMENTED: return call->from_server;
    default: return false;
    }
}

/* The question has failed. OK: the topic is passed over; else it is asked again. */
static int ensi_catchup_failed(ensign_t *c, ensi_catchup_t *x)
{
    const ensi_call_t *call = &x->call;
    int code = call->fault.code < 0 ? call->fault.code : ENSIGN_E_INTERNAL;
    ensi_rx_truncate(&x->call.s.rx, 0);
    if (!ensi_catchup_is_cut(call) &&
        (ensi_catchup_is_final(call) || ++x->tries == ENSI_CATCHUP_TRIES)) {
        ensi_catchup_pass(c, x, code, call->fault.text);
        ensi_catchup_leave(x);
        return ENSIGN_OK;
    }
    return code;
}

/* The place is not where it was thought to be. */
static void ensi_catchup_strayed(ensign_t *c, ensi_catchup_t *x)
{
    if (++x->tries < ENSI_CATCHUP_TRIES) {
        ensi_catchup_probe(x, x->places[x->at].next);
        return;
    }
    ensi_catchup_pass(c, x, ENSIGN_E_ABORTED, "its place is another one each time");
    ensi_catchup_leave(x);
}

/* All that the question brings has been looked at. OK, or why it has to be asked again. */
static int ensi_catchup_answered(ensign_t *c, ensi_catchup_t *x)
{
    ensi_call_t *call = &x->call;
    if (ensi_call_again(c, call)) return ENSIGN_OK;
    x->asking = false;
    if (call->end_status == ENSIGN_GRPC_OK && (ensi_rx_waiting(&call->s.rx) > 0 || call->s.rx.skip > 0)) {
        call->end_status = ENSIGN_GRPC_INTERNAL;
        ensi_fail(&call->fault, ENSIGN_E_INTERNAL, 0, "grpc: %s ended inside of a message", call->method);
    }
    if (call->end_status != ENSIGN_GRPC_OK) return ensi_catchup_failed(c, x);
    if (x->question == ENSI_CATCHUP_PROBE) {
        if (!x->hit) ensi_bisect_answer(&x->bisect, x->row_at, false);
    } else if (x->check) {
        ensi_catchup_strayed(c, x);
    } else {
        x->many = x->many || x->rows > ENSI_CATCHUP_FEW;
        ensi_catchup_leave(x);
    }
    return ENSIGN_OK;
}

/* ---- moving on */

/* Does it ask? Else the stream stands, or its owner opens it. */
static bool ensi_catchup_works(const ensi_catchup_t *x)
{
    return x->state != ENSI_CATCHUP_OFF && x->state != ENSI_CATCHUP_OPEN;
}


/* While the server owes something, and the program has nothing to pull, `quiet` runs. */
static void ensi_catchup_watch(ensign_t *c, ensi_catchup_t *x)
{
    const ensi_call_t *call = &x->call;
    size_t waiting = ensi_rx_waiting(&call->s.rx);
    bool owes = call->state == ENSI_GRPC_OPEN && call->s.headers_sent && !x->row && !x->gap;
    if (!owes) ensi_timer_stop(&x->quiet);
    else if (x->quiet.state == ENSI_TIMER_OFF || waiting != x->seen)
        ensi_timer_start(&x->quiet, c->open_timeout_ms);
    x->seen = waiting;
}

/* Facts have come, a row was pulled, or it is to begin. OK; or why the question is to be asked again, which
 * `call.fault` tells. *moved: an answer has come. */
static int ensi_catchup_serve(ensign_t *c, ensi_catchup_t *x, bool *moved)
{
    ensi_call_t *call = &x->call;
    int rc = ENSIGN_OK;
    *moved = false;
    if (ensi_h2_leaves(&call->s))
        ensi_grpc_abort(call, ENSIGN_GRPC_UNAVAILABLE, ENSIGN_E_GOAWAY,
                        "subscribe: the server ends this connection; the query is asked again");
    ensi_catchup_look(c, x);
    if (x->asking && !x->row && !x->gap && call->state == ENSI_GRPC_ENDED) {
        rc = ensi_catchup_answered(c, x);
        *moved = rc == ENSIGN_OK && !x->asking;
    }
    *moved = *moved || x->row;
    if (rc == ENSIGN_OK && !x->asking && ensi_catchup_works(x) && ensi_catchup_advance(c, x) &&
        !ensi_catchup_ask(x))
        rc = ensi_fail(&call->fault, ENSIGN_E_MEMORY, 0,
                       "memory: none to ask for what is missing; free some or raise memory_limit");
    ensi_catchup_watch(c, x);
    ensi_h2_resume(&call->s);
    ensi_state_grant(c, call);
    return rc;
}

static void ensi_catchup_tick(ensign_t *c, ensi_catchup_t *x)
{
    if (!ensi_timer_due(&x->quiet, c->env.now_ms)) return;
    ensi_ping_silent(c, &x->call, c->open_timeout_ms);
    ensi_grpc_abort(&x->call, ENSIGN_GRPC_UNAVAILABLE, ENSIGN_E_STALLED,
                    "subscribe: nothing more came of the answer to %s within open_timeout_ms, %lu; the query "
                    "is asked again",
                    x->call.method, (unsigned long)c->open_timeout_ms);
    ensi_state_touch(c, &x->call);
}

/* ---- for the owner: begin and end */

/* NULL: no memory. */
static ensi_catchup_t *ensi_catchup_open(ensign_t *c, ensi_handle_t *owner, size_t window, size_t max_event)
{
    ensi_grpc_opts_t o = ensi_grpc_opts("/ensign.v1beta1.Ensign/EnSQL", window, max_event, "max_event_bytes",
                                        ENSI_CATCHUP_OUT);
    ensi_catchup_t *x = (ensi_catchup_t *)ensi_mem_zero(&c->env.mem, sizeof *x);
    if (!x) return NULL;
    x->window = window;
    x->limit = max_event + ENSI_GRPC_PREFIX;
    if (ensi_grpc_init(&x->call, &c->env, &c->calls, owner, &o) == ENSIGN_OK) {
        x->call.wait_for_ready = true;
        return x;
    }
    ensi_grpc_free(&x->call, &c->env.mem);
    ensi_mem_free(&c->env.mem, x);
    return NULL;
}

static void ensi_catchup_free(ensign_t *c, ensi_catchup_t *x)
{
    if (!x) return;
    ensi_state_free_call(c, &x->call);
    ensi_topics_free(&x->map, &c->env.mem);
    ensi_mem_free(&c->env.mem, x->places);
    ensi_mem_free(&c->env.mem, x);
}

/* The most that one takes: two receive buffers, when a large row comes behind one that is lent, and one kept;
 * a map of topics, and the places of two, while the one is replaced; 8 KiB for nghttp2. */
static size_t ensi_catchup_bound(size_t window, size_t max_event)
{
    size_t large = ensi_max(window, max_event) + ENSI_GRPC_PREFIX;
    return sizeof(ensi_catchup_t) + 2 * large + window + ensi_topics_bound(max_event) +
           2 * (max_event / ENSI_CATCHUP_ENTRY + 1) * sizeof(ensi_catchup_place_t) + 2 * ENSI_CATCHUP_OUT +
           ensi_meta_bound(ENSI_GRPC_META) + 8192 + 512;
}

/* ---- for the owner: the stream */

/* Places for another map: a topic that the last one had keeps its own. One that it lacked has been made
 * since, so all of its events are new. False: no memory. */
static bool ensi_catchup_renew(ensign_t *c, ensi_catchup_t *x, const ensi_topics_t *map)
{
    bool first = !x->places;
    ensi_catchup_place_t *places;
    ensign_slice_t name;
    ensign_ulid_t id, was;
    if (!first && x->map.block == map->block) return true;
    places = (ensi_catchup_place_t *)ensi_mem_zero(&c->env.mem, (map->count + 1) * sizeof *places);
    if (!places) return false;
    for (size_t at = 0; ensi_topics_next(map, &at, &name, &id);) {
        ensi_catchup_place_t *p = &places[at - 1];
        const ensi_topic_entry_t *e = first ? NULL : ensi_topics_find(&x->map, x->map.by_name, name);
        if (e) *p = x->places[e - x->map.entries];
        else p->known = !first;
        if (e && ensi_topics_id(&x->map, name, &was) && memcmp(was.b, id.b, sizeof id.b) != 0) p->anew = true;
    }
    ensi_topics_free(&x->map, &c->env.mem);
    ensi_mem_free(&c->env.mem, x->places);
    x->map = ensi_topics_share(map);
    x->places = places;
    return true;
}

static void ensi_catchup_restart(ensi_catchup_t *x)
{
    x->at = 0;
    x->tries = 0;
    x->probing = x->many = false;
}

/* The stream is ready, with this map. AGAIN: it is the first one, and has to be closed again before it gives
 * anything: where its topics end is found out first. < 0: no memory. */
static int ensi_catchup_ready(ensign_t *c, ensi_catchup_t *x, const ensi_topics_t *map)
{
    bool first = !x->places;
    if (!ensi_catchup_renew(c, x, map)) return ENSIGN_E_MEMORY;
    memset(x->floor, 0, sizeof x->floor);
    ensi_catchup_restart(x);
    if (!first) {
        (void)ensi_catchup_move(x, ENSI_CATCHUP_ON_READY);
        return ENSIGN_OK;
    }
    if (map->count == 0 || map->count > ENSI_CATCHUP_ASKED) return ENSIGN_OK;
    ensi_must(ensi_catchup_move(x, ENSI_CATCHUP_ON_MAP));
    return ENSIGN_AGAIN;
}

/* The stream is lost, or could not be opened: what was missed is read before the next one. */
static void ensi_catchup_lost(ensi_catchup_t *x)
{
    bool stood = x->state == ENSI_CATCHUP_OFF;
    if (!ensi_catchup_move(x, ENSI_CATCHUP_ON_LOST)) return; /* none was wanted: the ends are asked for */
    ensi_catchup_drop(x);
    ensi_catchup_restart(x);
    for (size_t i = 0; stood && i < x->map.count; i++)
        x->places[i].passed = x->places[i].told = x->places[i].anew = false;
}

/* Does it know the topics of the last stream, and can read what a break left out of them? */
static bool ensi_catchup_knows(const ensi_catchup_t *x)
{
    return x->places != NULL;
}

/* The owner has ended: what is here already is still given, and nothing more is asked for. */
static void ensi_catchup_end(ensi_catchup_t *x)
{
    ensi_grpc_abort(&x->call, ENSIGN_GRPC_CANCELLED, ENSIGN_E_CANCELLED, "asked for no more");
    ensi_timer_stop(&x->quiet);
}

/* Is anything to be asked yet? */
static bool ensi_catchup_busy(const ensi_catchup_t *x)
{
    return x->state != ENSI_CATCHUP_OFF;
}

/* Does what the stream brings wait for what was missed before it? */
static bool ensi_catchup_holds(const ensi_catchup_t *x)
{
    return x->state == ENSI_CATCHUP_SEAM;
}

/* An event of the stream is about to be given. False: it was given before. */
static bool ensi_catchup_takes(ensi_catchup_t *x, const ensign_event_t *e)
{
    const ensi_topic_entry_t *entry =
        ensi_topics_find(&x->map, x->map.by_id, ensi_slice(e->topic_id.b, sizeof e->topic_id.b));
    ensi_catchup_place_t *p = entry ? &x->places[entry - x->map.entries] : NULL;
    if (!p || ensi_catchup_is_none(e->id.b)) return true;
    if (p->known && memcmp(e->id.b, p->last, sizeof p->last) <= 0) return false;
    memcpy(p->last, e->id.b, sizeof p->last);
    memcpy(p->mark, e->id.b, sizeof p->mark);
    memcpy(x->floor, e->id.b, sizeof x->floor);
    p->next++;
    p->known = true;
    return true;
}

/* ---- for the owner: what is to be given */

static bool ensi_catchup_has(const ensi_catchup_t *x)
{
    return x->row || x->gap;
}

/* What was lent stands no longer. The buffers are given back when nothing is missing any more. */
static void ensi_catchup_release(ensign_t *c, ensi_catchup_t *x)
{
    ensi_rx_t *r = &x->call.s.rx;
    if (!r->ptr) return;
    ensi_msg_release(&x->call);
    if (x->state != ENSI_CATCHUP_OFF || x->asking) {
        ensi_h2_shrink(&x->call.s, &c->env.mem);
        return;
    }
    ensi_rx_free(r, &c->env.mem);
    ensi_rx_open(r, x->window, x->limit, 0);
}

/* Behind what was given there may be more. */
static void ensi_catchup_given(ensign_t *c, ensi_catchup_t *x)
{
    ensi_catchup_look(c, x);
    if (!ensi_catchup_has(x)) ensi_state_touch(c, &x->call);
}

/* Lends the next event. Returns false if no event waits. */
static bool ensi_catchup_event(ensign_t *c, ensi_catchup_t *x, ensign_event_t *e)
{
    ensign_slice_t bytes;
    if (!x->row || ensi_msg_peek(&x->call, &bytes) != ENSIGN_OK) return false;
    (void)ensi_event_read(e, bytes, true); /* it could be read before */
    (void)ensi_catchup_name(x, x->at, &e->topic_name);
    ensi_catchup_note(x, e->id.b);
    x->row = false;
    ensi_msg_lend(&x->call);
    ensi_catchup_given(c, x);
    ensi_state_grant_pulled(c, &x->call);
    return true;
}

/* Takes the gap that waits: its reason, and its topic. Returns false if none waits. */
static bool ensi_catchup_gap(ensign_t *c, ensi_catchup_t *x, ensign_error_t *why, ensign_slice_t *topic)
{
    if (!x->gap) return false;
    *why = x->fault;
    (void)ensi_catchup_name(x, x->gap_at, topic);
    x->gap = false;
    ensi_catchup_given(c, x);
    return true;
}

/* >>sub   may call: util mem env pb wire id handle h2 grpc topic state reopen query ask place catchup
 * Subscriptions: events in place, gaps, acks
 *
 * Owns   the receive buffer's unread events, which outlive the stream that brought them; the ring of
 *        delivered ids; the topic map.
 * Holds  behind what is lent, `scan` bytes are whole records: events of the server, and gaps, which are
 *        records of ours with a flag that no message has. Each gap keeps its place among the events; two with
 *        none between them are one.
 *        The buffer has room to spare for one gap that is never promised to the server. A second one finds
 *        room too: there is credit again only when the spare room is free again, and a gap for a large event
 *        takes less than the credit that the event used up.
 *        A token is the count of the event, from 1; it is good while it is among the last max_unacked and was
 *        given since the last stream was lost. With a group the last stream does not matter, and acks that
 *        wait go out on the next one.
 *        unsent: how many of [unsent_from, given) wait to be sent; `state` of older slots says nothing. They
 *        go from their ring straight into a frame; one that its frame cuts goes on from `cut`.
 * Moves  WAIT -> OPENING -> READY, back to WAIT when the stream is lost; section reopen says when it is
 *        opened again, and section place behind which events. A gap that is due only if these do not come
 *        waits until the next stream is ready. Closing: acks that wait are handed over first. `state` is
 *        assigned by ensi_sub_move alone.
 * Fails  an event that is too large or no Event becomes a gap; everything else that a server can do wrong
 *        ends the stream. */
typedef enum {
    ENSI_SUB_WAIT,
    ENSI_SUB_OPENING,
    ENSI_SUB_READY,
    ENSI_SUB_ENDED,
    ENSI_SUB_STATES
} ensi_sub_state_t;
typedef enum {
    ENSI_SUB_ON_OPEN,
    ENSI_SUB_ON_READY,
    ENSI_SUB_ON_LOST,
    ENSI_SUB_ON_END,
    ENSI_SUB_INPUTS
} ensi_sub_in_t;

static const ensi_move_t ensi_sub_moves[] = {
    { ENSI_SUB_WAIT,    ENSI_SUB_ON_OPEN,  ENSI_SUB_OPENING },
    { ENSI_SUB_WAIT,    ENSI_SUB_ON_END,   ENSI_SUB_ENDED   },
    { ENSI_SUB_OPENING, ENSI_SUB_ON_READY, ENSI_SUB_READY   },
    { ENSI_SUB_OPENING, ENSI_SUB_ON_LOST,  ENSI_SUB_WAIT    },
    { ENSI_SUB_OPENING, ENSI_SUB_ON_END,   ENSI_SUB_ENDED   },
    { ENSI_SUB_READY,   ENSI_SUB_ON_LOST,  ENSI_SUB_WAIT    },
    { ENSI_SUB_READY,   ENSI_SUB_ON_END,   ENSI_SUB_ENDED   },
};

enum {
    ENSI_SUB_GAP_FLAG = 0xFF,       /* in place of a message's flag: a record of ours */
    ENSI_SUB_GAP_BYTES = 8, ENSI_SUB_SPARE = 16,
    ENSI_SUB_EVENT_HEAD = 0x0A,     /* SubscribeReply.event's tag */
    ENSI_SUB_ANSWER_MAX = 59,       /* bytes: no ack or nack is longer; */
    ENSI_SUB_ACK_ROOM = 64,         /* with its prefix */
    ENSI_SUB_OUT_BYTES = 2048,      /* of the send buffer, beside what the desc names */
    ENSI_SUB_OPEN_MAX = ENSI_SERVER_MESSAGE_MAX - ENSI_SUB_OUT_BYTES, /* the rest has room beside it */
    ENSI_SUB_UNACKED_MAX = 1 << 24, /* the ring's size in bytes must fit a 32-bit size_t */
    ENSI_SUB_RLID = ENSI_WIRE_RLID
};
typedef enum { ENSI_ACK_NONE, ENSI_ACK_ACK, ENSI_ACK_NACK } ensi_ack_state_t;
typedef struct ensi_ack_slot_t { uint8_t id[ENSI_SUB_RLID]; uint8_t state; int32_t code; } ensi_ack_slot_t;

typedef struct ensi_sub_t {
    ensi_handle_t h;                /* first */
    ensi_call_t call;
    ensi_sub_state_t state;
    uint8_t *filter;                /* Subscription's topics, encoded */
    size_t filter_len;
    char *query, *group;            /* ""  : none */
    uint8_t *params;                /* of the query, encoded */
    size_t params_len;
    ensign_slice_t only;            /* the topic that is asked for, in `filter`; empty: several, or all */
    ensi_asker_t asker;             /* makes the topics of `filter`, one by one */
    bool ensure;                    /* ensure_topics */
    bool ensured;                   /* all are made, or need not be; anew when the server has lost them */
    size_t ensure_at, ensure_next;  /* in `filter`: the topic that is made, and the next one */
    uint32_t remakes;               /* the count of streams at which the topics were made anew */
    size_t scan;
    bool gap_last;                  /* the last record scanned is a gap */
    int gap_due;                    /* code of the one that comes next; 0: none */
    bool anew;                      /* the stream is opened again by our wish, to name its topics' places */
    ensi_places_t places;
    uint32_t max_event_bytes, max_unacked;
    uint32_t mask;                  /* of the ring of slots */
    ensi_ack_slot_t *slots;
    uint64_t given;                 /* events that were given */
    uint64_t fresh_from;            /* older tokens are of an earlier stream */
    uint64_t unsent_from;           /* no unsent ack is older */
    uint32_t unsent;
    uint8_t cut[ENSI_SUB_ACK_ROOM]; /* an ack that did not fit its frame: it goes on in the next one */
    uint8_t cut_at, cut_len;
    ensi_topics_t topics;
    ensi_topics_t told;             /* the map that the notice which stands points into */
    ensign_ulid_t named_id;         /* the topic of the last event, */
    ensign_slice_t named;           /* and its name in `topics`; ptr NULL: to be looked up */
    ensi_reopen_t reopen;
    ensi_catchup_t *catchup;        /* NULL: without `resume` */
    ensign_time_t last_committed;   /* of the last event that was given */
    ensign_event_t event;
} ensi_sub_t;

static bool ensi_sub_move(ensi_sub_t *s, ensi_sub_in_t in)
{
    int to = ensi_move(ensi_sub_moves, ENSI_COUNT(ensi_sub_moves), (int)s->state, (int)in);
    if (to < 0) return false;
    s->state = (ensi_sub_state_t)to;
    return true;
}

/* ---- gaps: records in the buffer */

static void ensi_sub_put_gap(uint8_t *p, int code, uint32_t times)
{
    p[0] = ENSI_SUB_GAP_FLAG;
    ensi_put_be32(p + 1, ENSI_SUB_GAP_BYTES);
    ensi_put_be32(p + 5, (uint32_t)code);
    ensi_put_be32(p + 9, times);
}

/* Puts a gap at the scan position. What lies there, a part of a message, has been given up by the caller. */
static void ensi_sub_gap(ensign_t *c, ensi_sub_t *s, int code)
{
    ensi_rx_t *r = &s->call.s.rx;
    uint8_t record[(size_t)ENSI_GRPC_PREFIX + ENSI_SUB_GAP_BYTES];
    if (s->gap_last) {
        uint8_t *times = ensi_rx_at(r, s->scan - 4);
        ensi_put_be32(times, ensi_get_be32(times) + 1);
        if (code != ENSIGN_E_TOO_LARGE) ensi_put_be32(times - 4, (uint32_t)code); /* it tells of more */
        return;
    }
    ensi_sub_put_gap(record, code, 1);
    /* no memory at all: the reopened stream's OPEN still tells */
    if (!ensi_rx_put(r, &c->env.mem, s->scan, record, sizeof record)) return;
    s->scan += sizeof record;
    s->gap_last = true;
}

/* Puts the gap that is due at the scan position, before what waits at *from, which may have to move: the
 * spare room is free while a stream begins. */
static int ensi_sub_put_due(ensign_t *c, ensi_sub_t *s, size_t *from)
{
    size_t need = (size_t)ENSI_GRPC_PREFIX + ENSI_SUB_GAP_BYTES, room = *from - s->scan;
    if (!s->gap_last && room < need) {
        if (!ensi_rx_insert(&s->call.s.rx, *from, need - room)) return ENSIGN_E_MEMORY;
        *from += need - room;
    }
    ensi_sub_gap(c, s, s->gap_due);
    s->gap_due = 0;
    return ENSIGN_OK;
}

/* ---- acks */

static ensi_ack_slot_t *ensi_sub_slot(const ensi_sub_t *s, uint64_t count)
{
    return &s->slots[count & s->mask];
}

/* The stream is lost. A group's server takes an ack from any stream: one that was cut goes out anew. */
static void ensi_sub_lose_acks(ensi_sub_t *s)
{
    if (s->group[0] != '\0') {
        if (s->cut_at < s->cut_len) s->cut_at = 0;
        return;
    }
    s->fresh_from = s->unsent_from = s->given;
    s->unsent = 0;
    s->cut_at = s->cut_len = 0;
}

static bool ensi_sub_token_good(const ensi_sub_t *s, uint64_t token)
{
    return token > s->fresh_from && token <= s->given && s->given - token < s->max_unacked;
}

/* Writes the slot's answer as a message with its prefix. Returns where it ends, at most ENSI_SUB_ACK_ROOM
 * bytes behind `out`. */
static uint8_t *ensi_sub_put_answer(const ensi_ack_slot_t *slot, uint8_t *out)
{
    ensi_pb_subscribe_request_t request;
    size_t len = 0;
    if (slot->state == ENSI_ACK_ACK) {
        ensi_grpc_prefix(out, ENSI_WIRE_RECEIPT_BYTES, false);
        return ensi_wire_put_receipt(out + ENSI_GRPC_PREFIX, slot->id);
    }
    memset(&request, 0, sizeof request);
    request.has_nack = true;
    request.nack.id = ensi_slice(slot->id, sizeof slot->id);
    request.nack.code = slot->code;
    ensi_pb_encode(ensi_pb_subscribe_request_fields, &request, out + ENSI_GRPC_PREFIX, ENSI_SUB_ANSWER_MAX,
                   &len);
    ensi_grpc_prefix(out, len, false);
    return out + ENSI_GRPC_PREFIX + len;
}

/* Goes on with an answer that was cut. Returns how many bytes it wrote. */
static size_t ensi_sub_give_cut(ensi_sub_t *s, uint8_t *out, size_t cap)
{
    size_t n = ensi_min((size_t)(s->cut_len - s->cut_at), cap);
    memcpy(out, s->cut + s->cut_at, n);
    s->cut_at = (uint8_t)(s->cut_at + n);
    return n;
}

/* nghttp2 asks for bytes: the answers that wait, oldest first. */
static size_t ensi_sub_more(ensi_call_t *call, uint8_t *out, size_t cap)
{
    ensi_sub_t *s = (ensi_sub_t *)(void *)call->owner;
    size_t n;
    if (s->state != ENSI_SUB_READY) return 0;
    n = ensi_sub_give_cut(s, out, cap);
    for (; s->unsent > 0 && n < cap; s->unsent_from++) {
        ensi_ack_slot_t *slot = ensi_sub_slot(s, s->unsent_from);
        if (slot->state == ENSI_ACK_NONE) continue;
        if (cap - n >= ENSI_SUB_ACK_ROOM) {
            n = (size_t)(ensi_sub_put_answer(slot, out + n) - out);
        } else {
            s->cut_at = 0;
            s->cut_len = (uint8_t)(ensi_sub_put_answer(slot, s->cut) - s->cut);
            n += ensi_sub_give_cut(s, out + n, cap - n);
        }
        slot->state = ENSI_ACK_NONE;
        s->unsent--;
    }
    return n;
}

/* Takes the slot of the next event; an ack that could not be sent by now is dropped. 0: no memory. */
static uint64_t ensi_sub_next_token(ensi_mem_t *m, ensi_sub_t *s, const ensign_rlid_t *id)
{
    ensi_ack_slot_t *slot;
    if (!s->slots) s->slots = (ensi_ack_slot_t *)ensi_mem_take(m, ((size_t)s->mask + 1) * sizeof *s->slots);
    if (!s->slots) return 0;
    if (s->given - s->unsent_from >= s->max_unacked) {
        if (s->unsent > 0 && ensi_sub_slot(s, s->unsent_from)->state != ENSI_ACK_NONE) s->unsent--;
        s->unsent_from = s->given - s->max_unacked + 1;
    }
    slot = ensi_sub_slot(s, s->given);
    slot->state = ENSI_ACK_NONE;
    memcpy(slot->id, id->b, sizeof slot->id);
    return ++s->given;
}

/* ---- receiving */

/* Where the server says that the stream began. False: it keeps no places. */
static bool ensi_sub_place(const ensi_sub_t *s, ensi_offset_t *place)
{
    ensign_slice_t key, value;
    size_t at = 0;
    while (ensi_meta_next(&s->call.meta[ENSIGN_HEADERS - 1], true, &at, &key, &value))
        if (ensi_slice_is(key, ensi_place_header)) return ensi_place_parse(value, place);
    return false;
}

/* Takes the map of the stream's topics, and tells where each goes on. AGAIN: on another stream. */
static int ensi_sub_take_map(ensign_t *c, ensi_sub_t *s, ensign_slice_t map)
{
    ensi_mem_t *m = &c->env.mem;
    ensi_topics_t before;
    ensi_offset_t place;
    int rc = ENSIGN_E_MEMORY;
    if (!ensi_places_on(&s->places))
        return ensi_topics_renew(&s->topics, &c->maps, &c->cache, m, map) ? ENSIGN_OK : rc;
    before = ensi_topics_share(&s->topics);
    if (ensi_topics_renew(&s->topics, &c->maps, &c->cache, m, map))
        rc = ensi_places_ready(&s->places, m, &s->topics, &before, ensi_slice(s->filter, s->filter_len),
                               ensi_sub_place(s, &place) ? &place : NULL, &s->gap_due);
    if (rc != ENSIGN_E_MEMORY) {
        ensi_topics_free(&before, m);
        return rc;
    }
    ensi_topics_free(&s->topics, m);
    s->topics = before;
    return rc;
}

/* Must what the stream has brought wait? */
static bool ensi_sub_held(const ensi_sub_t *s)
{
    return s->catchup && ensi_catchup_holds(s->catchup);
}

/* What is held stands behind a hole, and goes with the stream that brought it: queries bring it again. */
static void ensi_sub_unhold(ensi_sub_t *s)
{
    if (!ensi_sub_held(s)) return;
    s->scan = 0;
    s->gap_last = false;
}

/* The server that keeps no places is asked for what the next break leaves out. So is one that keeps them now,
 * for what the last break did. AGAIN: on another stream. */
static int ensi_sub_ready_catchup(ensign_t *c, ensi_sub_t *s)
{
    bool wanted = s->catchup && (!s->places.kept || ensi_catchup_busy(s->catchup));
    return wanted ? ensi_catchup_ready(c, s->catchup, &s->topics) : ENSIGN_OK;
}

static int ensi_sub_on_ready(ensign_t *c, ensi_sub_t *s, const ensi_pb_stream_ready_t *ready)
{
    int rc;
    if (s->state != ENSI_SUB_OPENING) return ENSIGN_E_PROTOCOL;
    s->named.ptr = NULL;
    rc = ensi_sub_take_map(c, s, ready->topics);
    if (rc == ENSIGN_OK) rc = ensi_sub_ready_catchup(c, s);
    if (rc != ENSIGN_OK) return rc;
    ensi_must(ensi_sub_move(s, ENSI_SUB_ON_READY));
    ensi_reopen_ready(&s->reopen, c, &s->h, &s->call);
    s->h.bits |= ENSI_BIT_OPEN;
    return ENSIGN_OK;
}

/* One event and nothing else, as servers send it; it is decoded when it is pulled. */
static bool ensi_sub_is_event(const uint8_t *p, size_t len)
{
    const uint8_t *at = len > 0 && *p == ENSI_SUB_EVENT_HEAD ? p + 1 : NULL, *end = p + len;
    uint64_t inside = 0;
    if (at) at = ensi_pb_get_varint(at, end, &inside);
    return at && inside == (uint64_t)(end - at);
}

/* The message behind what was scanned, at offset `from` of what waits: an event joins it, anything else is
 * acted on at once. */
static int ensi_sub_message(ensign_t *c, ensi_sub_t *s, size_t from, size_t total)
{
    ensi_rx_t *r = &s->call.s.rx;
    const uint8_t *p = ensi_rx_at(r, from + ENSI_GRPC_PREFIX);
    size_t len = total - ENSI_GRPC_PREFIX;
    if (!ensi_sub_is_event(p, len)) {
        ensi_pb_subscribe_reply_t reply;
        if (!ensi_pb_decode(ensi_pb_subscribe_reply_fields, &reply, p, len)) return ENSIGN_E_PROTOCOL;
        if (reply.has_ready) return ensi_sub_on_ready(c, s, &reply.ready);
        if (!reply.has_event) return ENSIGN_OK;
        /* else an event in an unusual order of fields */
    }
    if (s->state != ENSI_SUB_READY) return ENSIGN_E_PROTOCOL;
    if (s->places.behind && !ensi_places_take(&s->places, &s->topics, p, len, len)) return ENSIGN_OK;
    if (from > s->scan) memmove(ensi_rx_at(r, s->scan), ensi_rx_at(r, from), total);
    s->scan += total;
    s->gap_last = false;
    ensi_reopen_used(&s->reopen, &s->h);
    return ENSIGN_OK;
}

/* An event that is larger than allowed, at `from`: a gap stands for it. Its bytes, those that are `here` and
 * the rest, are passed over. Before the stream is ready it can only be the map of topics. */
static int ensi_sub_skip(ensign_t *c, ensi_sub_t *s, size_t from, size_t here, size_t len)
{
    ensi_rx_t *r = &s->call.s.rx;
    const uint8_t *p = ensi_rx_at(r, from + ENSI_GRPC_PREFIX);
    if (s->state != ENSI_SUB_READY) return ENSIGN_E_TOO_LARGE;
    ensi_rx_skip(r, len - here);
    if (!s->places.behind || ensi_places_take(&s->places, &s->topics, p, here, len))
        ensi_sub_gap(c, s, ENSIGN_E_TOO_LARGE);
    return ENSIGN_OK;
}

/* Looks at what has come since: keeps events, acts on all else. OK, or why the stream must end. */
static int ensi_sub_scan(ensign_t *c, ensi_sub_t *s)
{
    ensi_rx_t *r = &s->call.s.rx;
    size_t from = s->scan;
    int rc = ENSIGN_OK;
    while (rc == ENSIGN_OK && ensi_rx_waiting(r) - from >= ENSI_GRPC_PREFIX) {
        size_t len = ensi_get_be32(ensi_rx_at(r, from + 1)); /* with the prefix it need not fit 32 bits */
        size_t here = ensi_min(ensi_rx_waiting(r) - from - ENSI_GRPC_PREFIX, len);
        bool large = len > s->max_event_bytes;
        size_t want = !large ? len : s->places.behind ? (size_t)ENSI_RX_HEAD : 0;
        if (*ensi_rx_at(r, from) != 0) return ENSIGN_E_PROTOCOL;
        if (here < want) break;
        if (large) rc = ensi_sub_skip(c, s, from, here, len);
        else rc = ensi_sub_message(c, s, from, ENSI_GRPC_PREFIX + len);
        from = ensi_max(from + ENSI_GRPC_PREFIX + here,
                        s->scan); /* a gap can be longer than the part of an event */
        if (s->gap_due != 0 && rc >= ENSIGN_OK && ensi_sub_put_due(c, s, &from) != ENSIGN_OK)
            rc = ENSIGN_E_MEMORY;
    }
    ensi_rx_remove(r, s->scan, from - s->scan); /* once for all that was left out */
    return rc;
}

/* ---- opening, losing, ending */

static bool ensi_sub_encode_open(ensign_t *c, ensi_sub_t *s, ensign_slice_t offsets, uint8_t *out,
                                 size_t cap, size_t *len)
{
    ensi_pb_subscribe_request_t request;
    bool group = s->group[0] != '\0' && !ensi_places_learn(&s->places, &s->topics);
    memset(&request, 0, sizeof request);
    request.has_subscription = true;
    request.subscription.client_id = ensign_str(c->stream_name);
    request.subscription.topics.ptr = s->filter;
    request.subscription.topics.len = s->filter_len;
    request.subscription.has_query = s->query[0] != '\0';
    request.subscription.query.query = ensign_str(s->query);
    request.subscription.query.params.ptr = s->params;
    request.subscription.query.params.len = s->params_len;
    request.subscription.has_group = group || offsets.len > 0;
    if (group) request.subscription.group.name = ensign_str(s->group);
    request.subscription.group.topic_offsets = offsets;
    return ensi_pb_encode(ensi_pb_subscribe_request_fields, &request, out, cap, len);
}

/* The topics with their places, as the request has them; `ptr` is the caller's to free. Empty: none are asked
 * for. Where they do not fit into a message beside `others` none are, and the gap stands. False: no
 * memory. */
static bool ensi_sub_offsets(ensign_t *c, ensi_sub_t *s, size_t others, ensign_slice_t *offsets)
{
    ensign_slice_t filter = ensi_slice(s->filter, s->filter_len);
    ensi_places_t *p = &s->places;
    uint8_t *bytes;
    *offsets = ensi_slice(NULL, 0);
    if (ensi_places_ask(p, &s->topics)) offsets->len = ensi_places_size(p, &s->topics, filter);
    if (others + offsets->len > ENSI_SUB_OPEN_MAX) offsets->len = 0;
    p->asked = offsets->len > 0;
    if (!p->asked) return true;
    bytes = (uint8_t *)ensi_mem_take(&c->env.mem, offsets->len);
    if (!bytes) return false;
    ensi_places_put(p, &s->topics, filter, bytes);
    offsets->ptr = bytes;
    return true;
}

static int ensi_sub_queue(ensign_t *c, ensi_sub_t *s)
{
    size_t others = s->filter_len + s->params_len + strlen(s->query) + strlen(s->group), cap, len;
    ensign_slice_t offsets;
    uint8_t *out;
    bool made;
    if (!ensi_sub_offsets(c, s, others, &offsets)) return ENSIGN_E_MEMORY;
    cap = others + offsets.len + ENSI_SUB_OUT_BYTES / 2;
    made = ensi_call_restart(&s->call, cap, &out) == ENSIGN_OK &&
           ensi_sub_encode_open(c, s, offsets, out, cap, &len);
    ensi_mem_free(&c->env.mem, (uint8_t *)(uintptr_t)offsets.ptr);
    if (!made) return ENSIGN_E_MEMORY;
    ensi_grpc_commit(&s->call, len, 0);
    ensi_grpc_queue(&s->call);
    ensi_must(ensi_sub_move(s, ENSI_SUB_ON_OPEN));
    return ENSIGN_OK;
}

static void ensi_sub_finish(ensign_t *c, ensi_handle_t *h, const ensign_error_t *why)
{
    ensi_sub_t *s = (ensi_sub_t *)(void *)h;
    ensi_asker_drop(&s->asker);
    ensi_grpc_abort(&s->call, ENSIGN_GRPC_CANCELLED, ENSIGN_E_CANCELLED, "subscribe: closed");
    ensi_sub_unhold(s);
    if (s->catchup) ensi_catchup_end(s->catchup);
    ensi_rx_truncate(&s->call.s.rx, s->scan);
    ensi_must(ensi_sub_move(s, ENSI_SUB_ON_END));
    ensi_reopen_stop(&s->reopen, h);
    ensi_state_end(c, &s->h, why);
}

/* A stream is lost, for this reason. If it `stood`, events can be missing from here on: where the server
 * keeps places the next stream tells whether they are, and where it keeps none, queries bring them. */
static void ensi_sub_missing(ensign_t *c, ensi_sub_t *s, bool stood, int code)
{
    bool places = s->places.resume && s->places.kept;
    if (s->catchup && (ensi_catchup_busy(s->catchup) || (stood && !places && ensi_catchup_knows(s->catchup))))
        ensi_catchup_lost(s->catchup);
    else if (stood && places)
        s->places.owed = code;
    else if (stood)
        ensi_sub_gap(c, s, code);
}

/* None of its topics is there. A member that asks for something else than its group has the same status. */
static bool ensi_sub_is_topicless(const ensi_sub_t *s)
{
    return s->call.end_status == ENSIGN_GRPC_FAILED_PRECONDITION &&
           (s->group[0] == '\0' || ensi_slice_is(s->call.text, "no topics available"));
}

/* The stream is gone: its whole events stay, what was cut goes. */
static void ensi_sub_stream_ended(ensign_t *c, ensi_sub_t *s)
{
    bool opened = s->h.standing, again = ensi_state_token_again(c, &s->call);
    int code = s->call.fault.code ? s->call.fault.code : ENSIGN_E_CLOSED;
    ensi_sub_unhold(s);
    ensi_rx_truncate(&s->call.s.rx, s->scan);
    if (s->h.closing) {
        ensi_sub_finish(c, &s->h, NULL);
        return;
    }
    if (s->ensured && s->ensure && s->remakes < s->reopen.opens && s->call.from_server &&
        ensi_sub_is_topicless(s)) {
        s->remakes = s->reopen.opens;
        s->ensured = false; /* what was made has gone since: once more after each stream that stood */
        s->ensure_at = 0;
    } else if (ensi_reopen_final(&s->h, &s->call, again)) {
        if (ensi_sub_is_topicless(s))
            ensi_fail(&s->call.fault, ENSIGN_E_UNKNOWN_TOPIC, 0,
                      "subscribe: the project has %s; create one first, or mend the name",
                      s->filter_len ? "none of the topics that are asked for" : "no topics");
        ensi_sub_finish(c, &s->h, &s->call.fault);
        return;
    }
    ensi_sub_missing(c, s, opened, code);
    ensi_sub_lose_acks(s);
    if (!s->anew) s->places.again = 0;
    ensi_must(ensi_sub_move(s, ENSI_SUB_ON_LOST));
    ensi_reopen_lost(&s->reopen, c, &s->h, &s->call, s->anew);
    s->anew = false;
}

static bool ensi_sub_has(ensi_handle_t *h)
{
    const ensi_sub_t *s = (const ensi_sub_t *)(void *)h;
    if (s->h.ended) return false;
    if (s->h.bits != 0 || (s->scan > 0 && !ensi_sub_held(s))) return true;
    return s->catchup && ensi_catchup_has(s->catchup);
}

static const char *ensi_sub_why(int code)
{
    switch (code) {
    case ENSIGN_E_MEMORY: return "memory: none for the map of topics; free some or raise memory_limit";
    case ENSIGN_E_TOO_LARGE:
        return "subscribe: the server's map of topics is larger than max_event_bytes; raise it";
    default:
        return "subscribe: the server sent a message that is not a SubscribeReply, or an event before it was "
               "ready";
    }
}

/* ---- ensure_topics: each name is made, before the stream opens */

/* The server's answer to CreateTopic. False: this subscription waits, or has ended. */
static bool ensi_sub_made(ensign_t *c, ensi_sub_t *s)
{
    ensi_call_t *ask = &s->asker.ask->call;
    ensign_slice_t bytes;
    int rc = ensi_asker_answer(c, &s->asker, &bytes);
    if (rc == ENSIGN_AGAIN) return false;
    if (rc == ENSIGN_OK || (ask->from_server && ask->end_status == ENSIGN_GRPC_ALREADY_EXISTS)) {
        s->ensure_at = s->ensure_next;
        ensi_reopen_used(&s->reopen, &s->h);
        return true;
    }
    if (ensi_reopen_final(&s->h, ask, false)) {
        s->call.end_status = ask->end_status; /* END tells of this call */
        s->call.from_server = ask->from_server;
        s->call.text = ask->text;
        ensi_sub_finish(c, &s->h, &ask->fault);
        return false;
    }
    ensi_reopen_lost(&s->reopen, c, &s->h, ask, false);
    return false;
}

/* True: every topic is there. */
static bool ensi_sub_ensure(ensign_t *c, ensi_sub_t *s)
{
    ensign_slice_t filter = ensi_slice(s->filter, s->filter_len), name;
    ensign_ulid_t id;
    if (s->asker.asking && !ensi_sub_made(c, s)) return false;
    s->ensure_next = s->ensure_at;
    do { /* one that is given by its id cannot be made */
        if (!ensi_pb_span_next(filter, ENSI_PB_SUBSCRIPTION_TOPICS_TAG, &s->ensure_next, &name)) {
            s->ensured = true;
            return true;
        }
    } while (ensi_id_of_topic_text(name, &id));
    if (!ensi_asker_create(c, &s->asker, &s->h, name))
        ensi_reopen_later(&s->reopen, c, &s->h,
                          "memory: none to make a topic; free some or raise memory_limit");
    return false;
}

static bool ensi_sub_acks_wait(const ensi_sub_t *s)
{
    return s->unsent > 0 || s->cut_at < s->cut_len;
}

/* Closing: the stream may end once the acks that wait have been handed over; without a stream they go. */
static bool ensi_sub_may_end(const ensi_sub_t *s)
{
    return s->state != ENSI_SUB_READY ||
           (!ensi_sub_acks_wait(s) && s->call.sent == s->call.out.end);
}

/* Goes on with what was missed. A question that fails ends the stream, or is asked again after a backoff. */
static void ensi_sub_catch_up(ensign_t *c, ensi_sub_t *s)
{
    ensi_call_t *ask = &s->catchup->call;
    bool moved;
    int rc = ensi_catchup_serve(c, s->catchup, &moved);
    if (moved) ensi_reopen_used(&s->reopen, &s->h);
    if (moved && !(s->h.bits & ENSI_BIT_WAITING)) s->h.fault.code = 0; /* what was told stands until OPEN */
    if (rc == ENSIGN_OK) return;
    if (s->state != ENSI_SUB_WAIT)
        ensi_grpc_abort(&s->call, ENSIGN_GRPC_UNAVAILABLE, rc, "%s", ask->fault.text);
    else if (rc == ENSIGN_E_MEMORY)
        ensi_reopen_later(&s->reopen, c, &s->h, ask->fault.text);
    else
        ensi_reopen_lost(&s->reopen, c, &s->h, ask, false);
}

/* True: nothing has been missed, or all of that was given. */
static bool ensi_sub_caught_up(ensign_t *c, ensi_sub_t *s)
{
    if (!s->catchup || !ensi_catchup_busy(s->catchup)) return true;
    if (s->scan > 0) return false; /* these events tell from where on */
    ensi_sub_catch_up(c, s);
    return !ensi_catchup_works(s->catchup) && s->reopen.timer.state == ENSI_TIMER_OFF;
}

/* Opens the stream, once it is due, all of its topics are there, and what was missed has been given. */
static void ensi_sub_reopen(ensign_t *c, ensi_sub_t *s)
{
    if (s->state != ENSI_SUB_WAIT || s->reopen.timer.state != ENSI_TIMER_OFF) return;
    if (!(s->ensured || ensi_sub_ensure(c, s)) || !ensi_sub_caught_up(c, s)) return;
    if (ensi_sub_queue(c, s) != ENSIGN_OK)
        ensi_reopen_later(&s->reopen, c, &s->h,
                          "memory: none to open a stream for a subscription; free some");
}

/* What is always true; for assertions. */
static ENSI_UNUSED bool ensi_sub_holds(const ensi_sub_t *s)
{
    return s->scan <= ensi_rx_waiting(&s->call.s.rx) && s->unsent_from <= s->given &&
           s->fresh_from <= s->given && s->unsent <= s->given - s->unsent_from &&
           (s->state == ENSI_SUB_READY) == s->h.standing && ensi_grpc_holds(&s->call);
}

/* Facts, acks or a close have come. */
static void ensi_sub_serve(ensign_t *c, ensi_handle_t *h)
{
    ensi_sub_t *s = (ensi_sub_t *)(void *)h;
    ensi_call_t *call = &s->call;
    if (s->state != ENSI_SUB_ENDED) {
        int rc = ensi_sub_scan(c, s);
        s->anew = rc == ENSIGN_AGAIN;
        if (s->anew)
            ensi_grpc_abort(call, ENSIGN_GRPC_CANCELLED, ENSIGN_E_CANCELLED,
                            "subscribe: the stream is opened again, with the places of its topics");
        else if (rc != ENSIGN_OK)
            ensi_grpc_abort(call, ensi_grpc_status_of(rc), rc, "%s", ensi_sub_why(rc));
        if (ensi_h2_leaves(&call->s))
            ensi_grpc_abort(call, ENSIGN_GRPC_UNAVAILABLE, ENSIGN_E_GOAWAY,
                            "subscribe: the server ends this connection; the stream is opened again");
        if (s->state == ENSI_SUB_READY && ensi_sub_held(s)) ensi_sub_catch_up(c, s);
        if (s->state != ENSI_SUB_WAIT && call->state == ENSI_GRPC_ENDED) ensi_sub_stream_ended(c, s);
        if (h->closing && s->state != ENSI_SUB_ENDED && ensi_sub_may_end(s)) ensi_sub_finish(c, h, NULL);
        if (!h->closing) ensi_sub_reopen(c, s);
        ensi_reopen_watch(&s->reopen, c, h);
        call->s.watched = h->closing; /* it ends once all is handed over */
        if (call->sent < call->out.end || ensi_sub_acks_wait(s)) ensi_h2_resume(&call->s);
        ensi_state_grant(c, call);
        if (s->asker.ask) ensi_ask_move_on(c, s->asker.ask);
    }
    ENSIGN_ASSERT(s->state == ENSI_SUB_ENDED || ensi_sub_holds(s));
    ensi_state_ready(c, &s->h, ensi_sub_has(&s->h));
}

static void ensi_sub_tick(ensign_t *c, ensi_handle_t *h)
{
    ensi_sub_t *s = (ensi_sub_t *)(void *)h;
    if (ensi_reopen_tick(&s->reopen, c, h)) ensi_state_touch(c, &s->call);
    if (s->catchup) ensi_catchup_tick(c, s->catchup);
    if (ensi_timer_due(&s->asker.timer, c->env.now_ms)) {
        ensi_asker_late(c, &s->asker, "subscribe: a topic is not made within request_timeout_ms");
        ensi_state_touch(c, &s->call);
    }
}

static uint64_t ensi_sub_due(const ensi_handle_t *h)
{
    const ensi_sub_t *s = (const ensi_sub_t *)(const void *)h;
    uint64_t due = ensi_timer_sooner(ensi_reopen_due(&s->reopen), &s->asker.timer);
    return s->catchup ? ensi_timer_sooner(due, &s->catchup->quiet) : due;
}

/* Sends what acks wait, and ends. */
static void ensi_sub_close(ensign_t *c, ensi_handle_t *h)
{
    ensi_state_touch(c, h->call);
}

/* Events that were not pulled are not given any more. */
static void ensi_sub_drop(ensign_t *c, ensi_handle_t *h)
{
    ensi_sub_t *s = (ensi_sub_t *)(void *)h;
    (void)c;
    if (s->catchup) ensi_catchup_drop(s->catchup);
    ensi_rx_truncate(&s->call.s.rx, 0);
    s->scan = 0;
    s->gap_last = false;
}

/* The topics of the stream, or those that were asked for and are not among them. */
static bool ensi_sub_open_next(const ensi_handle_t *h, int which, size_t *at, ensign_slice_t *name,
                               ensign_ulid_t *id)
{
    const ensi_sub_t *s = (const ensi_sub_t *)(const void *)h;
    ensign_slice_t filter = ensi_slice(s->filter, s->filter_len), asked;
    if (which == ENSIGN_OPEN_TOPICS) return ensi_topics_next(&s->told, at, name, id);
    while (ensi_pb_span_next(filter, ENSI_PB_SUBSCRIPTION_TOPICS_TAG, at, &asked))
        if (ensi_topics_lacks(&s->told, asked, name, id)) return true;
    return false;
}

/* ---- notices */

static ensign_notice_t *ensi_sub_pull_gap(ensi_sub_t *s, const uint8_t *p)
{
    ensign_notice_t *n = ensi_notice_new(&s->h, ENSIGN_NOTICE_GAP);
    int code = (int)ensi_get_be32(p + 5);
    n->as.gap.since = s->last_committed; /* all events before it have been given */
    n->as.gap.topic = s->only;
    n->as.gap.times = ensi_get_be32(p + 9);
    if (code == ENSIGN_E_TOO_LARGE)
        ensi_fail(&s->h.error, code, 0,
                  "subscribe: an event is left out here: it is larger than max_event_bytes, %lu",
                  (unsigned long)s->max_event_bytes);
    else if (code == ENSIGN_E_UNIMPLEMENTED)
        ensi_fail(&s->h.error, code, 0,
                  "subscribe: events can be missing here: the server did not begin at `from`; it keeps no "
                  "places, or the topics are too many to name");
    else if (code == ENSIGN_E_DATA_LOSS)
        ensi_fail(&s->h.error, code, 0,
                  "subscribe: events can be missing here: the server's log was made anew, or it ends before "
                  "the place that was asked for");
    else
        ensi_fail(&s->h.error, code, 0,
                  "subscribe: events can be missing here: the stream had ended (%s), and what was published "
                  "before it was open again did not come",
                  ensign_result_name(code));
    n->error = &s->h.error;
    return n;
}

/* The name of an event's topic. Mostly it is the topic of the last event. */
static ensign_slice_t ensi_sub_topic_name(ensi_sub_t *s, const ensign_ulid_t *id)
{
    if (!s->named.ptr || memcmp(s->named_id.b, id->b, sizeof id->b) != 0) {
        s->named_id = *id;
        s->named = ensi_topics_name(&s->topics, ensi_slice(id->b, sizeof id->b));
    }
    return s->named;
}

/* The notice of `event`, which was read and named. */
static inline ensign_notice_t *ensi_sub_give(ensign_t *c, ensi_sub_t *s)
{
    ensign_event_t *e = &s->event;
    ensign_notice_t *n = ensi_notice_new(&s->h, ENSIGN_NOTICE_EVENT);
    e->token = ensi_sub_next_token(&c->env.mem, s, &e->id);
    if (e->committed.seconds) s->last_committed = e->committed; /* a row has none */
    s->h.stats.received++;
    c->env.stats.received++;
    n->as.event = e;
    return n;
}

/* NULL: the event was given before. */
static ensign_notice_t *ensi_sub_pull_event(ensign_t *c, ensi_sub_t *s, const uint8_t *p, size_t len)
{
    ensign_event_t *e = &s->event;
    ensign_notice_t *n;
    if (!ensi_event_read(e, ensi_slice(p, len), false)) {
        n = ensi_notice_new(&s->h, ENSIGN_NOTICE_GAP);
        n->as.gap.since = s->last_committed;
        n->as.gap.topic = s->only;
        n->as.gap.times = 1;
        ensi_fail(&s->h.error, ENSIGN_E_FORMAT, 0,
                  "subscribe: an event of %lu bytes is no Event message; it is left out", (unsigned long)len);
        n->error = &s->h.error;
        return n;
    }
    if (s->catchup && !ensi_catchup_takes(s->catchup, e)) return NULL;
    e->topic_name = ensi_sub_topic_name(s, &e->topic_id);
    return ensi_sub_give(c, s);
}

/* What was missed, in its place: events and gaps, then those of the stream. */
static ensign_notice_t *ensi_sub_pull_missed(ensign_t *c, ensi_sub_t *s)
{
    ensign_notice_t *n;
    ensign_slice_t topic;
    if (!ensi_catchup_has(s->catchup)) return NULL;
    s->told = ensi_topics_share(&s->topics); /* the topic's name lies there */
    if (ensi_catchup_event(c, s->catchup, &s->event)) return ensi_sub_give(c, s);
    if (!ensi_catchup_gap(c, s->catchup, &s->h.error, &topic)) return NULL;
    n = ensi_notice_new(&s->h, ENSIGN_NOTICE_GAP);
    n->as.gap.since = s->last_committed;
    n->as.gap.topic = topic;
    n->as.gap.times = 1;
    n->error = &s->h.error;
    return n;
}

/* What the last notice pointed into stands no longer. */
static inline void ensi_sub_release(ensign_t *c, ensi_sub_t *s)
{
    ensi_msg_release(&s->call);
    ensi_topics_free(&s->told, &c->env.mem);
    if (s->catchup) ensi_catchup_release(c, s->catchup);
}

/* What lies first in the buffer: an event, or a gap. It is lent. NULL: an event that was given before. */
static ensign_notice_t *ensi_sub_pull_record(ensign_t *c, ensi_sub_t *s)
{
    ensi_rx_t *r = &s->call.s.rx;
    const uint8_t *p = ensi_rx_at(r, 0);
    ensign_notice_t *n;
    size_t total;
    ensi_rx_head(r, &total);
    s->told = ensi_topics_share(&s->topics); /* an event's topic_name lies there */
    n = *p == ENSI_SUB_GAP_FLAG ? ensi_sub_pull_gap(s, p)
                                : ensi_sub_pull_event(c, s, p + ENSI_GRPC_PREFIX, total - ENSI_GRPC_PREFIX);
    ensi_msg_lend(&s->call);
    s->scan -= total;
    if (s->scan == 0) s->gap_last = false;
    if (s->scan == 0 && s->catchup) ensi_state_touch(c, &s->call); /* what was missed can follow */
    ensi_state_grant_pulled(c, &s->call);
    if (!n) ensi_sub_release(c, s);
    return n;
}

static ensign_notice_t *ensi_sub_pull(ensign_t *c, ensi_handle_t *h)
{
    ensi_sub_t *s = (ensi_sub_t *)(void *)h;
    ensign_notice_t *n;

    ensi_sub_release(c, s);
    ensi_h2_shrink(&s->call.s, &c->env.mem);
    if ((n = ensi_notice_bit(&s->h, ENSI_BIT_OPEN, ENSIGN_NOTICE_OPEN)) != NULL) {
        s->told = ensi_topics_share(&s->topics);
        ensi_state_count_open(h, n);
        return n;
    }
    if ((n = ensi_state_pull_waiting(c, h)) != NULL) return n;
    if (s->catchup && (n = ensi_sub_pull_missed(c, s)) != NULL) return n;
    if (s->scan > 0 && !ensi_sub_held(s)) {
        do n = ensi_sub_pull_record(c, s);
        while (!n && s->scan > 0);
        if (n) return n;
    }
    return ensi_state_pull_end(h, h->stats.received);
}

static void ensi_sub_free(ensign_t *c, ensi_handle_t *h)
{
    ensi_sub_t *s = (ensi_sub_t *)(void *)h;
    ensi_mem_t *m = &c->env.mem;
    ensi_state_free_call(c, &s->call);
    ensi_topics_free(&s->topics, m);
    ensi_topics_free(&s->told, m);
    ensi_places_free(&s->places, m);
    ensi_asker_free(c, &s->asker);
    ensi_catchup_free(c, s->catchup);
    ensi_mem_free(m, s->slots);
    ensi_mem_free(m, s->filter);
    ensi_mem_free(m, s->query);
    ensi_mem_free(m, s->group);
    ensi_mem_free(m, s->params);
    ensi_mem_free(m, s);
}

static const ensi_kind_t ensi_sub_kind = {
    "subscription", true, ensi_sub_has, ensi_sub_pull, ensi_sub_serve, ensi_sub_tick, ensi_sub_due,
    ensi_sub_close, ensi_sub_drop, ensi_sub_finish, ensi_sub_free, ensi_sub_open_next
};

/* ---- public */

static ensign_subscription_desc_t ensi_sub_defaults(const ensign_subscription_desc_t *d)
{
    ensign_subscription_desc_t x = *d;
    x.window_bytes = ensi_or(d->window_bytes, 256 * 1024);
    x.max_event_bytes = ensi_or(d->max_event_bytes, 5 * 1024 * 1024);
    x.max_unacked = ensi_or(d->max_unacked, 16384);
    return x;
}

static size_t ensi_sub_topics_size(const ensign_subscription_desc_t *d)
{
    size_t size = 0;
    for (size_t i = 0; i < d->topic_count; i++)
        size += ensi_pb_bytes_size(ENSI_PB_SUBSCRIPTION_TOPICS_TAG, ensign_str(d->topics[i]).len);
    return size;
}

static size_t ensi_sub_query_size(const ensign_subscription_desc_t *d)
{
    size_t size = ensign_str(d->query).len + ensign_str(d->group).len + 64;
    for (size_t i = 0; i < d->param_count; i++)
        size += ensi_pb_bytes_size(ENSI_PB_QUERY_PARAMS_TAG, ensi_query_param_size(&d->params[i]));
    return size;
}

/* What the topics take at most in a request with their places, beside what they take without. */
static size_t ensi_sub_offsets_size(const ensign_subscription_desc_t *d)
{
    return d->from != ENSIGN_FROM_LIVE ? ensi_sub_topics_size(d) + 16 * d->topic_count : 0;
}

/* What places take: a third map, while they are carried over from one to the next; and the request that names
 * them, with what it is made of. */
static size_t ensi_sub_places_bound(const ensign_subscription_desc_t *d)
{
    if (!d->resume && d->from == ENSIGN_FROM_LIVE) return 0;
    return ensi_topics_bound(d->max_event_bytes) + ensi_places_bound(d->max_event_bytes) +
           ensi_meta_bound(ENSI_GRPC_META) + 3 * ensi_sub_offsets_size(d) +
           3 * ensi_min(d->max_event_bytes, ENSI_SUB_OPEN_MAX);
}

size_t ensign_subscription_memory_bound(const ensign_subscription_desc_t *d)
{
    ensign_subscription_desc_t x = ensi_sub_defaults(d);
    size_t large = ensi_max(x.window_bytes, x.max_event_bytes) + ENSI_SUB_SPARE + ENSI_GRPC_PREFIX;
    /* two buffers, when a large event comes behind one that is lent, and one kept for that; the map of topics
     * came in a message, and takes at most twice its size, for two of them while a lent event needs the
     * older; 8 KiB each for the end's text and nghttp2 */
    return sizeof(ensi_sub_t) + 2 * large + x.window_bytes + ENSI_SUB_SPARE +
           2 * ensi_topics_bound(x.max_event_bytes) +
           ((size_t)ensi_ring_mask(x.max_unacked) + 1) * sizeof(ensi_ack_slot_t) +
           3 * ensi_sub_topics_size(&x) + 2 * ENSI_SUB_OUT_BYTES + 3 * ensi_sub_query_size(&x) +
           (x.ensure_topics ? ENSI_ASK_BOUND : 0) + ensi_sub_places_bound(&x) +
           (x.resume ? ensi_catchup_bound(x.window_bytes, x.max_event_bytes) : 0) +
           ensi_meta_bound(ENSI_GRPC_META) + 8192 + 512;
}

static int ensi_sub_check(ensign_t *c, const ensign_subscription_desc_t *x)
{
    size_t size = 0;
    int rc = ensi_state_may_open(c);
    if (rc != ENSIGN_OK) return rc;
    if (!ensi_state_size(c, "subscribe", "window_bytes", x->window_bytes, 1024, ENSI_GRPC_BYTES_MAX) ||
        !ensi_state_size(c, "subscribe", "max_event_bytes", x->max_event_bytes, 1024, ENSI_GRPC_BYTES_MAX) ||
        !ensi_state_size(c, "subscribe", "max_unacked", x->max_unacked, 1, ENSI_SUB_UNACKED_MAX))
        return ENSIGN_E_ARGUMENT;
    for (size_t i = 0; i < x->topic_count; i++) {
        size_t len = ensign_str(x->topics[i]).len;
        if (len == 0 || len > ENSI_TOPIC_NAME_MAX)
            return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                                 "subscribe: topic %lu has a name of %lu bytes; 1 to %d are allowed",
                                 (unsigned long)i, (unsigned long)len, ENSI_TOPIC_NAME_MAX);
        size += ensi_pb_bytes_size(ENSI_PB_SUBSCRIPTION_TOPICS_TAG, len);
        if (size > ENSI_SUB_OPEN_MAX) break;
    }
    size += ensi_sub_offsets_size(x);
    if (size <= ENSI_SUB_OPEN_MAX && ensi_sub_query_size(x) <= ENSI_SUB_OPEN_MAX - size) return ENSIGN_OK;
    return ensi_env_fail(&c->env, ENSIGN_E_TOO_LARGE,
                         "subscribe: topics, query, params, group take more than %d bytes; name fewer topics",
                         ENSI_SUB_OPEN_MAX);
}

/* The query goes to the server as it is, in the message that opens the stream. */
static int ensi_sub_copy_query(ensign_t *c, ensi_sub_t *s, const ensign_subscription_desc_t *x)
{
    ensi_pb_query_t message;
    int rc;
    s->query = ensi_mem_text(&c->env.mem, x->query);
    s->group = ensi_mem_text(&c->env.mem, x->group);
    if (!s->query || !s->group) return ensi_env_memory(&c->env, ensi_sub_query_size(x));
    if (s->query[0] == '\0') return ENSIGN_OK;
    rc = ensi_query_message(c, s->query, x->params, x->param_count, &message, &s->params);
    s->params_len = message.params.len;
    return rc;
}

static bool ensi_sub_copy_topics(ensign_t *c, ensi_sub_t *s, const ensign_subscription_desc_t *x)
{
    uint8_t *p;
    s->filter_len = ensi_sub_topics_size(x);
    p = s->filter = (uint8_t *)ensi_mem_take(&c->env.mem, s->filter_len + 1);
    if (!p) return false;
    for (size_t i = 0; i < x->topic_count; i++)
        p = ensi_pb_put_bytes(p, ENSI_PB_SUBSCRIPTION_TOPICS_TAG, ensign_str(x->topics[i]));
    if (x->topic_count == 1) {
        size_t len = ensign_str(x->topics[0]).len;
        s->only = ensi_slice(s->filter + s->filter_len - len, len);
    }
    return true;
}

static void ensi_sub_open_places(ensi_sub_t *s, const ensign_subscription_desc_t *x)
{
    ensign_ulid_t id;
    s->places.resume = x->resume;
    s->places.from = x->from;
    s->places.group = s->group[0] != '\0';
    s->places.unnamed = x->topic_count == 0;
    for (size_t i = 0; i < x->topic_count; i++)
        if (ensi_id_of_topic_text(ensign_str(x->topics[i]), &id)) s->places.unnamed = true;
    if (x->from != ENSIGN_FROM_LIVE) s->places.owed = ENSIGN_E_UNIMPLEMENTED; /* until one begins there */
}

ensign_subscription_t ensign_subscription_open(ensign_t *c, const ensign_subscription_desc_t *d)
{
    ensign_subscription_t none = { 0 };
    ensign_subscription_desc_t x = ensi_sub_defaults(d);
    ensi_grpc_opts_t o;
    ensi_sub_t *s;
    int rc = ENSIGN_E_MEMORY;

    if (ensi_sub_check(c, &x) != ENSIGN_OK) return none;
    o = ensi_grpc_opts("/ensign.v1beta1.Ensign/Subscribe", x.window_bytes, x.max_event_bytes,
                       "max_event_bytes", ENSI_SUB_OUT_BYTES);
    o.spare = ENSI_SUB_SPARE;
    o.shows_metadata = x.resume || x.from != ENSIGN_FROM_LIVE; /* to us, for the stream's place */
    s = (ensi_sub_t *)ensi_mem_zero(&c->env.mem, sizeof *s);
    if (s && ensi_sub_copy_topics(c, s, &x)) rc = ensi_sub_copy_query(c, s, &x);
    else ensi_env_memory(&c->env, sizeof *s);
    if (rc == ENSIGN_OK) rc = ensi_grpc_init(&s->call, &c->env, &c->calls, &s->h, &o);
    if (rc == ENSIGN_OK && x.resume) {
        s->catchup = ensi_catchup_open(c, &s->h, x.window_bytes, x.max_event_bytes);
        if (!s->catchup) rc = ensi_env_memory(&c->env, sizeof *s->catchup);
    }
    if (rc != ENSIGN_OK) {
        if (s) ensi_sub_free(c, &s->h);
        return none;
    }
    s->call.more = ensi_sub_more;
    s->call.wait_for_ready = true;
    s->ensure = x.ensure_topics;
    s->ensured = !s->ensure;
    s->max_event_bytes = x.max_event_bytes;
    ensi_sub_open_places(s, &x);
    s->max_unacked = x.max_unacked;
    s->mask = ensi_ring_mask(x.max_unacked);
    s->h.reopen = &s->reopen;
    none.id = ensi_state_add(c, &s->h, &ensi_sub_kind, &s->call, x.user);
    return none;
}

static int ensi_sub_answer(ensign_t *c, ensign_subscription_t handle, uint64_t token, ensi_ack_state_t state,
                           int code)
{
    int rc;
    ensi_sub_t *s = (ensi_sub_t *)(void *)ensi_state_find(c, handle.id, &ensi_sub_kind, &rc);
    ensi_ack_slot_t *slot;
    if (!s) return rc;
    if (token == 0)
        return ensi_env_fail(&c->env, ENSIGN_E_STALE,
                             "ack: the token is 0: there was no memory to remember the event");
    if (!ensi_sub_token_good(s, token))
        return ensi_env_fail(&c->env, ENSIGN_E_STALE,
                             "ack: the token is not one of the last %lu of this stream; ack sooner, or raise "
                             "max_unacked",
                             (unsigned long)s->max_unacked);
    slot = ensi_sub_slot(s, token - 1);
    if (s->unsent == 0 || token - 1 < s->unsent_from) s->unsent_from = token - 1;
    if (slot->state == ENSI_ACK_NONE) s->unsent++;
    slot->state = (uint8_t)state;
    slot->code = code;
    if (state == ENSI_ACK_ACK) s->h.stats.acked++;
    else s->h.stats.nacked++;
    ensi_state_touch(c, &s->call);
    return ENSIGN_OK;
}

int ensign_ack(ensign_t *c, ensign_subscription_t s, uint64_t token)
{
    return ensi_sub_answer(c, s, token, ENSI_ACK_ACK, 0);
}

int ensign_nack(ensign_t *c, ensign_subscription_t s, uint64_t token, int code)
{
    return ensi_sub_answer(c, s, token, ENSI_ACK_NACK, code);
}

/* >>req   may call: util mem env pb id json handle link h2 grpc topic state ping reopen query ask
 * Requests: one question to the service, one answer
 *
 * Owns   each request's call, which is used again for the next page or the next step, and the page that is
 *        being read.
 * Holds  one answer, or END with an error; of a list, or of a project's numbers, many, then END. What an
 *        answer points at stands in the receive buffer until the next pull. The timer runs while the server
 *        is asked, not while a user reads a page.
 *        No more than ENSI_REQ_PAGES_MAX pages are read without giving a topic.
 *        A watch of health holds the latest state alone.
 *        Where the way to the server fails, the running call is sent again after a backoff (the timer of
 *        `reopen`), until the request's timer ends it: if it only reads, or is ensure's; else if the server
 *        surely did not act on it.
 * Moves  find, list and names read pages; ensure finds, creates, and finds again when somebody else was
 *        faster; a watch is opened again; auth_status is not asked by a call, but by auth. */
typedef enum {
    ENSI_REQ_CREATE, ENSI_REQ_ENSURE, ENSI_REQ_FIND, ENSI_REQ_LIST, ENSI_REQ_NAMES,
    ENSI_REQ_EXISTS, ENSI_REQ_RETRIEVE, ENSI_REQ_DELETE, ENSI_REQ_POLICY, ENSI_REQ_INFO,
    ENSI_REQ_EXPLAIN, ENSI_REQ_STATUS, ENSI_REQ_HEALTH, ENSI_REQ_WATCH, ENSI_REQ_AUTH
} ensi_req_kind_t;

enum {
    ENSI_REQ_PAGE = 100,        /* topics at most, fewer where max_answer_bytes is small */
    ENSI_REQ_PAGES_MAX = 10000, /* a million topics */
    ENSI_REQ_TOPIC = 1024,      /* bytes that a topic takes in a page; and all but the lists of a policy */
    ENSI_REQ_TOKEN = 1024
};
enum { ENSI_REQ_ARCHIVE = 1, ENSI_REQ_DESTROY = 2 };    /* TopicMod.Operation */

typedef struct ensi_req_t {
    ensi_handle_t h;                /* first */
    ensi_ask_t ask;
    ensi_req_kind_t kind;
    ensi_timer_t timer;
    char *name;
    uint8_t *request;               /* as it is sent; of what is asked page by page, the Topic to create */
    size_t request_len;
    ensign_ulid_t id;               /* of the topic that is meant */
    bool creating;                  /* the running call is CreateTopic */
    bool again;                     /* ensure: CreateTopic said ALREADY_EXISTS */
    bool acted;                     /* the server may have acted on a call that was sent again */
    bool answered;
    /* pages */
    bool paged;                     /* list: a page is being read */
    uint32_t pages;                 /* asked for since a topic was given */
    ensign_slice_t page;            /* the topics of the page that is read, in the receive buffer */
    size_t page_at;                 /* where the next topic is looked for */
    bool page_waits;                /* no topic of it has been given, so it is not lent yet */
    ensign_topic_t next;            /* list: the topic that is given next */
    bool has_next;
    char token[ENSI_REQ_TOKEN];     /* of the next page */
    size_t token_len;
    char known[ENSI_TOPIC_NAME_MAX + 1];    /* a name from the cache, which may forget it */
    char next_known[ENSI_TOPIC_NAME_MAX + 1];
    uint64_t count;
    /* info */
    bool walking;                   /* its answer is being given */
    bool project_due;
    ensign_slice_t infos, types;    /* of the answer; of the topic that was given last */
    size_t infos_at, types_at;
    ensign_project_t project;
    ensign_topic_info_t info;
    ensign_type_info_t type;
    /* watch */
    bool changed;                   /* the state in `answer` was not given yet */
    ensi_reopen_t reopen;
    /* answers */
    ensign_topic_t topic;
    ensign_notice_t answer;         /* its arm, until it is pulled */
    uint64_t probe;                 /* which of auth's probes answers */
} ensi_req_t;

typedef bool ensi_req_read_t(ensign_t *c, ensi_req_t *q, ensign_slice_t bytes);
static ensi_req_read_t ensi_req_read_topic, ensi_req_read_page, ensi_req_read_exists, ensi_req_read_state,
    ensi_req_read_project, ensi_req_read_plan, ensi_req_read_status, ensi_req_read_health;

/* In the order of ensi_req_kind_t: the method, its answer, what reads that, and whether it changes something
 * that a second time would change again. */
static const struct { const char *method; ensign_notice_type_t notice; ensi_req_read_t *read; bool changes; }
ensi_req_kinds[] = {
    { "/ensign.v1beta1.Ensign/CreateTopic",    ENSIGN_NOTICE_TOPIC,       ensi_req_read_topic,   true },
    { "/ensign.v1beta1.Ensign/ListTopics",     ENSIGN_NOTICE_TOPIC,       ensi_req_read_page,    false },
    { "/ensign.v1beta1.Ensign/ListTopics",     ENSIGN_NOTICE_TOPIC,       ensi_req_read_page,    false },
    { "/ensign.v1beta1.Ensign/ListTopics",     ENSIGN_NOTICE_TOPIC,       ensi_req_read_page,    false },
    { "/ensign.v1beta1.Ensign/TopicNames",     ENSIGN_NOTICE_TOPIC,       ensi_req_read_page,    false },
    { "/ensign.v1beta1.Ensign/TopicExists",    ENSIGN_NOTICE_EXISTS,      ensi_req_read_exists,  false },
    { "/ensign.v1beta1.Ensign/RetrieveTopic",  ENSIGN_NOTICE_TOPIC,       ensi_req_read_topic,   false },
    { "/ensign.v1beta1.Ensign/DeleteTopic",    ENSIGN_NOTICE_TOPIC_STATE, ensi_req_read_state,   true },
    { "/ensign.v1beta1.Ensign/SetTopicPolicy", ENSIGN_NOTICE_TOPIC_STATE, ensi_req_read_state,   true },
    { "/ensign.v1beta1.Ensign/Info",           ENSIGN_NOTICE_PROJECT,     ensi_req_read_project, false },
    { "/ensign.v1beta1.Ensign/Explain",        ENSIGN_NOTICE_PLAN,        ensi_req_read_plan,    false },
    { "/ensign.v1beta1.Ensign/Status",         ENSIGN_NOTICE_STATUS,      ensi_req_read_status,  false },
    { "/grpc.health.v1.Health/Check",          ENSIGN_NOTICE_HEALTH,      ensi_req_read_health,  false },
    { "/grpc.health.v1.Health/Watch",          ENSIGN_NOTICE_HEALTH,      ensi_req_read_health,  false },
    { "",                                      ENSIGN_NOTICE_STATUS,      NULL,                  false },
};

/* What the running call asks: ensure asks two things. */
static ensi_req_kind_t ensi_req_asks(const ensi_req_t *q)
{
    return q->creating ? ENSI_REQ_CREATE : q->kind;
}

static bool ensi_req_has(ensi_handle_t *h)
{
    const ensi_req_t *q = (const ensi_req_t *)(void *)h;
    return !q->h.ended && (q->h.bits != 0 || q->has_next || q->walking || q->changed ||
                           (q->answered && q->count == 0));
}

static void ensi_req_end(ensign_t *c, ensi_handle_t *h, const ensign_error_t *why)
{
    ensi_req_t *q = (ensi_req_t *)(void *)h;
    if (q->answered) return; /* the answer waits to be pulled */
    ensi_grpc_abort(&q->ask.call, ENSIGN_GRPC_CANCELLED, ENSIGN_E_CANCELLED, "request: ended");
    ensi_timer_stop(&q->timer);
    ensi_reopen_stop(&q->reopen, h);
    if (q->acted) q->ask.call.unprocessed = false; /* the last try's word is not that of an earlier one */
    ensi_state_end(c, &q->h, why);
}

/* Ends the request for a reason of ours. */
static void ensi_req_refuse(ensign_t *c, ensi_req_t *q, int status, const ensign_error_t *why)
{
    q->ask.call.end_status = status;
    q->ask.call.from_server = false;
    ensi_req_end(c, &q->h, why);
}

/* ---- asking */

/* Is what is sent now a page's number, and not `request`? */
static bool ensi_req_by_page(const ensi_req_t *q)
{
    return ensi_req_kinds[ensi_req_asks(q)].read == ensi_req_read_page;
}

static size_t ensi_req_encode(const ensign_t *c, const ensi_req_t *q, uint8_t *out, size_t cap)
{
    size_t room = c->max_answer_bytes / ENSI_REQ_TOPIC;
    ensi_pb_page_info_t page;
    size_t len = 0;
    if (!ensi_req_by_page(q)) {
        if (q->request_len) memcpy(out, q->request, q->request_len);
        return q->request_len;
    }
    memset(&page, 0, sizeof page);
    page.page_size = (uint32_t)ensi_max(ensi_min(room, ENSI_REQ_PAGE), 1);
    page.next_page_token = ensi_slice(q->token, q->token_len);
    ensi_pb_encode(ensi_pb_page_info_fields, &page, out, cap, &len);
    return len;
}

/* Puts the request's next call into the queue. */
static void ensi_req_ask(ensign_t *c, ensi_req_t *q)
{
    size_t cap = ensi_max(q->request_len, ENSI_REQ_TOKEN + 64);
    ensign_error_t e;
    uint8_t *out;
    if (ensi_req_by_page(q) && q->pages++ == ENSI_REQ_PAGES_MAX) {
        ensi_fail(&e, ENSIGN_E_PROTOCOL, 0,
                  "request: %s has given %d pages without an end; something is wrong with the server",
                  ensi_req_kinds[q->kind].method, ENSI_REQ_PAGES_MAX);
        ensi_req_refuse(c, q, ENSIGN_GRPC_INTERNAL, &e);
        return;
    }
    q->paged = false;
    out = ensi_ask_begin(&q->ask, ensi_req_kinds[ensi_req_asks(q)].method, cap);
    if (!out) {
        ensi_req_end(c, &q->h, &q->ask.call.fault);
        return;
    }
    ensi_ask_send(&q->ask, ensi_req_encode(c, q, out, cap), &q->timer);
}

/* ---- reading answers */

static bool ensi_req_topic(ensign_topic_t *out, ensign_slice_t bytes)
{
    ensi_pb_topic_t t;
    if (!ensi_pb_decode(ensi_pb_topic_fields, &t, bytes.ptr, bytes.len) || t.id.len != ENSI_TOPIC_ID_BYTES)
        return false;
    memset(out, 0, sizeof *out);
    ensi_event_copy_id(out->id.b, sizeof out->id.b, t.id);
    ensi_event_copy_id(out->project_id.b, sizeof out->project_id.b, t.project_id);
    out->name = t.name;
    out->readonly = t.readonly;
    out->state = t.status;
    out->dedup_strategy = t.deduplication.strategy;
    out->dedup_offset = t.deduplication.offset;
    out->overwrite_duplicate = t.deduplication.overwrite_duplicate;
    out->keys = t.deduplication.keys;
    out->fields = t.deduplication.fields;
    out->offset = t.offset;
    out->shards = t.shards;
    out->types = t.types;
    out->placements = t.placements;
    out->created = ensi_time_of(t.has_created, &t.created);
    out->modified = ensi_time_of(t.has_modified, &t.modified);
    return true;
}

/* An entry of TopicNames: its name is a hash, which tells whether the name that the cache has is the one. */
static bool ensi_req_topic_name(ensign_t *c, ensi_req_t *q, ensign_slice_t bytes)
{
    ensi_pb_topic_name_t t;
    ensign_topic_t *out = &q->next;
    uint8_t hash[ENSI_ID_HASH], told[ENSI_ID_HASH];
    size_t len = 0;
    memset(out, 0, sizeof *out);
    if (!ensi_pb_decode(ensi_pb_topic_name_fields, &t, bytes.ptr, bytes.len) ||
        ensign_ulid_parse(t.topic_id, &out->id) != ENSIGN_OK)
        return false;
    if (ensign_ulid_parse(t.project_id, &out->project_id) != ENSIGN_OK)
        memset(&out->project_id, 0, sizeof out->project_id);
    out->name = ensi_cache_name(&c->cache, out->id.b, q->next_known);
    ensi_id_hash(out->name, hash);
    if (ensi_base64_decode((const char *)t.name.ptr, t.name.len, true, told, sizeof told, &len) !=
            ENSIGN_OK ||
        len != sizeof told || memcmp(told, hash, sizeof told) != 0)
        out->name = ensi_slice(NULL, 0);
    return true;
}

static void ensi_req_answered(ensign_t *c, ensi_req_t *q)
{
    q->answered = true;
    ensi_timer_stop(&q->timer);
    ensi_handle_done(&c->handles, &q->h);
}

static bool ensi_req_read_status(ensign_t *c, ensi_req_t *q, ensign_slice_t bytes)
{
    static const int64_t age_max = INT64_MAX / 1000 - 1; /* its milliseconds can still be told */
    ensign_notice_status_t *out = &q->answer.as.status;
    ensi_pb_service_state_t s;
    if (!ensi_pb_decode(ensi_pb_service_state_fields, &s, bytes.ptr, bytes.len)) return false;
    if (s.uptime.seconds < 0 || s.uptime.seconds > age_max) s.uptime.seconds = 0;
    if (s.uptime.nanos < 0 || s.uptime.nanos > 999999999) s.uptime.nanos = 0;
    out->state = s.status;
    out->version = s.version;
    out->uptime_ms = s.uptime.seconds * 1000 + s.uptime.nanos / 1000000;
    out->not_before = ensi_time_of(s.has_not_before, &s.not_before);
    out->not_after = ensi_time_of(s.has_not_after, &s.not_after);
    ensi_req_answered(c, q);
    return true;
}

static bool ensi_req_read_health(ensign_t *c, ensi_req_t *q, ensign_slice_t bytes)
{
    ensi_pb_health_check_response_t x;
    if (!ensi_pb_decode(ensi_pb_health_check_response_fields, &x, bytes.ptr, bytes.len)) return false;
    q->answer.as.health.state = x.status;
    if (q->kind == ENSI_REQ_WATCH) q->changed = true;
    else ensi_req_answered(c, q);
    return true;
}

static bool ensi_req_read_exists(ensign_t *c, ensi_req_t *q, ensign_slice_t bytes)
{
    ensi_pb_topic_exists_info_t x;
    if (!ensi_pb_decode(ensi_pb_topic_exists_info_fields, &x, bytes.ptr, bytes.len)) return false;
    q->answer.as.exists.exists = x.exists;
    ensi_req_answered(c, q);
    return true;
}

/* What a topic has become. A topic that goes leaves the cache. A server that failed says OK, with no id. */
static bool ensi_req_read_state(ensign_t *c, ensi_req_t *q, ensign_slice_t bytes)
{
    ensi_pb_topic_status_t x;
    if (!ensi_pb_decode(ensi_pb_topic_status_fields, &x, bytes.ptr, bytes.len) || x.id.len == 0) return false;
    q->answer.as.topic_state.id = q->id;
    q->answer.as.topic_state.state = x.state;
    if (x.state == ENSIGN_TOPIC_DELETING)
        ensi_cache_drop(&c->cache, &c->env.mem, ensi_cache_find_id(&c->cache, q->id.b));
    ensi_req_answered(c, q);
    return true;
}

static bool ensi_req_read_plan(ensign_t *c, ensi_req_t *q, ensign_slice_t bytes)
{
    q->answer.as.plan.bytes = bytes;
    ensi_req_answered(c, q);
    return true;
}

/* A topic's record is the answer, or one of many. */
static void ensi_req_remember(ensign_t *c, const ensign_topic_t *t)
{
    ensi_cache_put(&c->cache, &c->env.mem, t->name, t->id.b, true);
}

static bool ensi_req_read_topic(ensign_t *c, ensi_req_t *q, ensign_slice_t bytes)
{
    if (!ensi_req_topic(&q->topic, bytes)) return false;
    q->answer.as.topic = &q->topic;
    ensi_req_remember(c, &q->topic);
    ensi_req_answered(c, q);
    return true;
}

/* ---- pages */

/* Takes a page: its topics and its token. Returns false if the bytes are not a page, or if its token is
 * longer than any that we know. */
static bool ensi_req_page(ensi_req_t *q, ensign_slice_t bytes)
{
    ensi_pb_topics_page_t page; /* TopicNamesPage has the same form */
    if (!ensi_pb_decode(ensi_pb_topics_page_fields, &page, bytes.ptr, bytes.len) ||
        page.next_page_token.len > sizeof q->token)
        return false;
    q->token_len = page.next_page_token.len;
    if (q->token_len) memcpy(q->token, page.next_page_token.ptr, q->token_len);
    q->page = page.topics;
    q->page_at = 0;
    return true;
}

/* Looks for the page's next topic; a record that is no Topic is left out. */
static bool ensi_req_next_topic(ensign_t *c, ensi_req_t *q)
{
    ensign_slice_t record;
    q->has_next = false;
    while (!q->has_next && ensi_pb_span_next(q->page, ENSI_PB_TOPICS_PAGE_TOPICS_TAG, &q->page_at, &record))
        q->has_next = q->kind == ENSI_REQ_NAMES ? ensi_req_topic_name(c, q, record)
                                                : ensi_req_topic(&q->next, record);
    if (q->has_next && q->kind == ENSI_REQ_LIST) ensi_req_remember(c, &q->next);
    return q->has_next;
}

static void ensi_req_not_found(ensign_t *c, ensi_req_t *q)
{
    ensign_error_t e;
    ensi_fail(&e, ENSIGN_E_NOT_FOUND, 0,
              "request: the project has no topic \"%.100s\"; create it, or see to the key's project",
              q->name);
    ensi_req_refuse(c, q, ENSIGN_GRPC_NOT_FOUND, &e);
}

/* A page of find or ensure: is the name on it? */
static void ensi_req_search(ensign_t *c, ensi_req_t *q)
{
    while (ensi_req_next_topic(c, q)) {
        if (!ensi_slice_is(q->next.name, q->name)) continue;
        q->has_next = false;
        q->topic = q->next;
        q->answer.as.topic = &q->topic;
        ensi_req_remember(c, &q->topic);
        ensi_req_answered(c, q);
        return;
    }
    if (q->token_len > 0) {
        ensi_req_ask(c, q);
    } else if (q->kind == ENSI_REQ_ENSURE && !q->again) {
        q->creating = true;
        ensi_req_ask(c, q);
    } else {
        ensi_req_not_found(c, q);
    }
}

/* A page of list has come, or was given wholly: its next topic, the next page, or the end. */
static void ensi_req_list_on(ensign_t *c, ensi_req_t *q)
{
    if (ensi_req_next_topic(c, q)) {
        ensi_timer_stop(&q->timer);
        return;
    }
    q->paged = false;
    if (q->token_len > 0) ensi_req_ask(c, q);
    else ensi_req_end(c, &q->h, NULL);
}

static bool ensi_req_read_page(ensign_t *c, ensi_req_t *q, ensign_slice_t bytes)
{
    if (!ensi_req_page(q, bytes)) return false;
    q->paged = q->kind == ENSI_REQ_LIST || q->kind == ENSI_REQ_NAMES;
    q->page_waits = true;
    if (q->paged) ensi_req_list_on(c, q);
    else ensi_req_search(c, q);
    return true;
}

/* ---- info: the project, its topics, their types */

static bool ensi_req_read_project(ensign_t *c, ensi_req_t *q, ensign_slice_t bytes)
{
    ensi_pb_project_info_t p;
    (void)c;
    if (!ensi_pb_decode(ensi_pb_project_info_fields, &p, bytes.ptr, bytes.len)) return false;
    memset(&q->project, 0, sizeof q->project);
    ensi_event_copy_id(q->project.id.b, sizeof q->project.id.b, p.project_id);
    q->project.topics = p.num_topics;
    q->project.readonly_topics = p.num_readonly_topics;
    q->project.events = p.events;
    q->project.duplicates = p.duplicates;
    q->project.data_bytes = p.data_size_bytes;
    q->infos = p.topics;
    q->walking = q->project_due = true;
    ensi_timer_stop(&q->timer);
    return true;
}

static bool ensi_req_next_info(ensign_t *c, ensi_req_t *q)
{
    ensign_slice_t bytes;
    ensi_pb_topic_info_t t;
    ensign_topic_info_t *out = &q->info;
    do {
        if (!ensi_pb_span_next(q->infos, ENSI_PB_PROJECT_INFO_TOPICS_TAG, &q->infos_at, &bytes)) return false;
    } while (!ensi_pb_decode(ensi_pb_topic_info_fields, &t, bytes.ptr, bytes.len));
    memset(out, 0, sizeof *out);
    ensi_event_copy_id(out->id.b, sizeof out->id.b, t.topic_id);
    ensi_event_copy_id(out->project_id.b, sizeof out->project_id.b, t.project_id);
    ensi_event_copy_id(out->last_event.b, sizeof out->last_event.b, t.event_offset_id);
    out->name = ensi_cache_name(&c->cache, out->id.b, q->known);
    out->events = t.events;
    out->duplicates = t.duplicates;
    out->data_bytes = t.data_size_bytes;
    out->modified = ensi_time_of(t.has_modified, &t.modified);
    q->types = t.types;
    q->types_at = 0;
    return true;
}

static bool ensi_req_next_type(ensi_req_t *q)
{
    ensign_slice_t bytes;
    ensi_pb_event_type_info_t t;
    do {
        if (!ensi_pb_span_next(q->types, ENSI_PB_TOPIC_INFO_TYPES_TAG, &q->types_at, &bytes)) return false;
    } while (!ensi_pb_decode(ensi_pb_event_type_info_fields, &t, bytes.ptr, bytes.len));
    memset(&q->type, 0, sizeof q->type);
    if (t.has_type) ensi_topic_type(&q->type.type, &t.type);
    q->type.mimetype = t.mimetype;
    q->type.events = t.events;
    q->type.duplicates = t.duplicates;
    q->type.data_bytes = t.data_size_bytes;
    q->type.modified = ensi_time_of(t.has_modified, &t.modified);
    return true;
}

/* ---- a watch of health */

static void ensi_req_watch(ensign_t *c, ensi_req_t *q)
{
    ensi_call_t *call = &q->ask.call;
    ensign_slice_t bytes;
    int rc;
    while ((rc = ensi_msg_take(call, &bytes)) == ENSIGN_OK && ensi_req_read_health(c, q, bytes)) {
        if (!q->h.standing) ensi_reopen_ready(&q->reopen, c, &q->h, call);
        ensi_reopen_used(&q->reopen, &q->h);
    }
    if (rc != ENSIGN_AGAIN)
        ensi_grpc_abort(
            call, ENSIGN_GRPC_INTERNAL, ENSIGN_E_INTERNAL,
            "request: the server sent a message that is not a HealthCheckResponse; it is asked again");
    if (ensi_h2_leaves(&call->s))
        ensi_grpc_abort(call, ENSIGN_GRPC_UNAVAILABLE, ENSIGN_E_GOAWAY,
                        "request: the server ends this connection; its health is asked again");
    if (call->state != ENSI_GRPC_ENDED || q->reopen.timer.state != ENSI_TIMER_OFF) return;
    if (ensi_reopen_final(&q->h, call, ensi_state_token_again(c, call))) ensi_req_end(c, &q->h, &call->fault);
    else ensi_reopen_lost(&q->reopen, c, &q->h, call, false);
}

/* ---- all of them */

/* A service's status by HTTP: auth has it, or does not know yet. */
static void ensi_req_auth(ensign_t *c, ensi_req_t *q)
{
    const ensi_auth_said_t *said = &c->auth.said;
    ensign_notice_status_t *out = &q->answer.as.status;
    if (said->count < q->probe) return;
    if (said->fault.code) {
        ensi_req_refuse(c, q, ENSIGN_GRPC_UNAVAILABLE, &said->fault);
        return;
    }
    ensi_fmt(q->known, sizeof q->known, "%s", said->version);
    out->state = said->state;
    out->version = ensign_str(q->known);
    out->uptime_ms = said->uptime_ms;
    ensi_req_answered(c, q);
}

/* The way to the server has failed: may the running call be sent a second time? */
static bool ensi_req_may_repeat(const ensi_req_t *q)
{
    return ensi_ask_cut(&q->ask) && (q->ask.call.unprocessed || !ensi_req_kinds[q->kind].changes);
}

/* It is sent again when the backoff is over, and there is a connection. */
static void ensi_req_repeat(ensign_t *c, ensi_req_t *q)
{
    if (!q->ask.call.unprocessed) q->acted = true;
    ensi_backoff_fail(&q->reopen.backoff, &c->env);
    ensi_reopen_start(&q->reopen, c, &q->h);
    ensi_state_waits(c, &q->h, &q->ask.call.fault);
}

/* The call has ended without OK: the same once more, another step, or the end. */
static void ensi_req_failed(ensign_t *c, ensi_req_t *q)
{
    bool there = q->ask.call.end_status == ENSIGN_GRPC_ALREADY_EXISTS;
    if (ensi_req_may_repeat(q)) {
        ensi_req_repeat(c, q);
    } else if (there && q->kind == ENSI_REQ_ENSURE && q->creating) {
        q->creating = false;
        q->again = true;
        q->token_len = q->pages = 0;
        ensi_req_ask(c, q);
    } else {
        ensi_req_end(c, &q->h, &q->ask.call.fault);
    }
}

static void ensi_req_go_on(ensign_t *c, ensi_req_t *q)
{
    ensign_slice_t bytes;
    int rc;
    if (q->answered || q->has_next || q->walking || (q->h.bits & ENSI_BIT_END)) return;
    if (q->kind == ENSI_REQ_WATCH) {
        ensi_req_watch(c, q);
    } else if (q->kind == ENSI_REQ_AUTH) {
        ensi_req_auth(c, q);
    } else if (q->paged) {
        ensi_req_list_on(c, q);
    } else if (q->reopen.timer.state == ENSI_TIMER_OFF) { /* else the call is sent again when it is due */
        rc = ensi_ask_answer(c, &q->ask, &bytes);
        if (rc == ENSIGN_OK) ensi_reopen_used(&q->reopen, &q->h);
        if (rc == ENSIGN_OK && !ensi_req_kinds[ensi_req_asks(q)].read(c, q, bytes))
            rc = ensi_ask_bad(&q->ask);
        if (rc < 0) ensi_req_failed(c, q);
    }
}

/* A watch would have no end; all else waits for its answer. */
static void ensi_req_close(ensign_t *c, ensi_handle_t *h)
{
    ensi_req_t *q = (ensi_req_t *)(void *)h;
    if (q->kind != ENSI_REQ_WATCH) return;
    ensi_req_end(c, h, NULL);
    ensi_state_ready(c, h, true);
}

/* What is always true; for assertions. */
static ENSI_UNUSED bool ensi_req_holds(const ensi_req_t *q)
{
    bool last = q->answered || (q->h.bits & ENSI_BIT_END) != 0 || q->h.ended;
    return q->h.done == last && (!q->creating || q->kind == ENSI_REQ_CREATE || q->kind == ENSI_REQ_ENSURE) &&
           q->token_len <= sizeof q->token && ensi_grpc_holds(&q->ask.call);
}

static void ensi_req_serve(ensign_t *c, ensi_handle_t *h)
{
    ensi_req_t *q = (ensi_req_t *)(void *)h;
    if (q->ask.call.s.headers_done && !h->done && q->kind != ENSI_REQ_WATCH) ensi_state_moves(h);
    ensi_req_go_on(c, q);
    if (q->kind == ENSI_REQ_WATCH) ensi_reopen_watch(&q->reopen, c, h);
    ensi_ask_move_on(c, &q->ask);
    ENSIGN_ASSERT(ensi_req_holds(q));
    ensi_state_ready(c, &q->h, ensi_req_has(&q->h));
}

/* Says what a request waited for when its time is up. */
static const char *ensi_req_obstacle(const ensign_t *c, const ensi_req_t *q, char *room, size_t cap)
{
    const ensi_link_t *auth = &c->links[ENSIGN_LINK_AUTH];
    if (q->kind == ENSI_REQ_AUTH && auth->fault.code) return auth->fault.text;
    if (q->reopen.timer.state != ENSI_TIMER_OFF) return q->h.fault.text; /* it is about to be sent again */
    if (q->kind != ENSI_REQ_AUTH) return ensi_state_obstacle(c, &q->ask.call, room, cap);
    ensi_fmt(room, cap, "waiting for the status of %s", ensi_link_where(c->auth.link));
    return room;
}

static void ensi_req_tick(ensign_t *c, ensi_handle_t *h)
{
    ensi_req_t *q = (ensi_req_t *)(void *)h;
    ensi_call_t *call = &q->ask.call;
    char room[200];
    ensign_error_t e;
    if (ensi_reopen_tick(&q->reopen, c, h)) {
        ensi_call_rewind(call);
        ensi_grpc_queue(call);
    }
    if (!ensi_timer_due(&q->timer, c->env.now_ms)) return;
    ensi_fail(&e, ENSIGN_E_DEADLINE_EXCEEDED, 0, "request: no answer within request_timeout_ms: %.180s",
              ensi_req_obstacle(c, q, room, sizeof room));
    ensi_ping_late(c, call);
    ensi_grpc_abort(call, ENSIGN_GRPC_DEADLINE_EXCEEDED, e.code, "%s", e.text);
    ensi_req_refuse(c, q, ENSIGN_GRPC_DEADLINE_EXCEEDED, &e);
    ensi_state_ready(c, &q->h, true);
}

static uint64_t ensi_req_due(const ensi_handle_t *h)
{
    const ensi_req_t *q = (const ensi_req_t *)(const void *)h;
    return ensi_timer_sooner(ensi_reopen_due(&q->reopen), &q->timer);
}

/* Answers that were not pulled are not given any more. */
static void ensi_req_drop(ensign_t *c, ensi_handle_t *h)
{
    ensi_req_t *q = (ensi_req_t *)(void *)h;
    (void)c;
    q->has_next = q->walking = q->changed = q->paged = false;
}

/* ---- notices */

static ensign_notice_t *ensi_req_pull_answer(ensi_req_t *q)
{
    ensign_notice_t *n = ensi_notice_new(&q->h, ensi_req_kinds[q->kind].notice);
    n->as = q->answer.as;
    n->last = true;
    q->h.ended = true;
    q->count++;
    return n;
}

/* The next topic of the page, and a look at the one behind it. */
static ensign_notice_t *ensi_req_pull_topic(ensign_t *c, ensi_req_t *q)
{
    ensign_notice_t *n = ensi_notice_new(&q->h, ENSIGN_NOTICE_TOPIC);
    if (q->page_waits) {
        ensi_msg_release(&q->ask.call);
        ensi_msg_lend(&q->ask.call);
        q->page_waits = false;
    }
    q->topic = q->next;
    if (q->kind == ENSI_REQ_NAMES && q->topic.name.len) {
        memcpy(q->known, q->next_known, sizeof q->known);
        q->topic.name = ensign_str(q->known);
    }
    n->as.topic = &q->topic;
    q->count++;
    if (!ensi_req_next_topic(c, q) && !(q->h.bits & ENSI_BIT_END)) { /* the pump asks for the next page */
        q->pages = 0;
        ensi_timer_start(&q->timer, c->request_timeout_ms);
        ensi_state_touch(c, &q->ask.call);
    }
    return n;
}

/* The next of the numbers; NULL: all were given. */
static ensign_notice_t *ensi_req_pull_info(ensign_t *c, ensi_req_t *q)
{
    ensign_notice_t *n;
    if (q->project_due) {
        q->project_due = false;
        n = ensi_notice_new(&q->h, ENSIGN_NOTICE_PROJECT);
        n->as.project = &q->project;
        return n;
    }
    if (ensi_req_next_type(q)) {
        n = ensi_notice_new(&q->h, ENSIGN_NOTICE_TYPE_INFO);
        n->as.type_info = &q->type;
        return n;
    }
    if (!ensi_req_next_info(c, q)) return NULL;
    q->count++;
    n = ensi_notice_new(&q->h, ENSIGN_NOTICE_TOPIC_INFO);
    n->as.topic_info = &q->info;
    return n;
}

static ensign_notice_t *ensi_req_pull(ensign_t *c, ensi_handle_t *h)
{
    ensi_req_t *q = (ensi_req_t *)(void *)h;
    ensign_notice_t *n;
    if (q->answered) return ensi_req_pull_answer(q);
    if (q->has_next) return ensi_req_pull_topic(c, q);
    if (q->walking) {
        n = ensi_req_pull_info(c, q);
        if (n) return n;
        q->walking = false;
        ensi_req_end(c, &q->h, NULL);
    }
    if (q->changed) {
        q->changed = false;
        n = ensi_notice_new(&q->h, ENSIGN_NOTICE_HEALTH);
        n->as = q->answer.as;
        q->count++;
        return n;
    }
    if ((n = ensi_state_pull_waiting(c, h)) != NULL) return n; /* it is newer than that state */
    return ensi_state_pull_end(h, q->count);
}

/* ---- opening one */

static void ensi_req_free(ensign_t *c, ensi_handle_t *h)
{
    ensi_req_t *q = (ensi_req_t *)(void *)h;
    ensi_mem_t *m = &c->env.mem;
    ensi_state_free_call(c, &q->ask.call);
    ensi_mem_free(m, q->name);
    ensi_mem_free(m, q->request);
    ensi_mem_free(m, q);
}

static const ensi_kind_t ensi_req_kind = {
    "request", false, ensi_req_has, ensi_req_pull, ensi_req_serve, ensi_req_tick, ensi_req_due,
    ensi_req_close, ensi_req_drop, ensi_req_end, ensi_req_free, NULL
};
static const ensi_kind_t ensi_req_watch_kind = {
    "watch", true, ensi_req_has, ensi_req_pull, ensi_req_serve, ensi_req_tick, ensi_req_due,
    ensi_req_close, ensi_req_drop, ensi_req_end, ensi_req_free, NULL
};

/* A request that has nothing to say yet. NULL: the error is set. */
static ensi_req_t *ensi_req_new(ensign_t *c, ensi_req_kind_t kind, const char *name)
{
    ensi_req_t *q;
    if (ensi_state_may_open(c) != ENSIGN_OK) return NULL;
    q = (ensi_req_t *)ensi_mem_zero(&c->env.mem, sizeof *q);
    if (q) q->name = ensi_mem_text(&c->env.mem, name);
    if (!q || !q->name) ensi_env_memory(&c->env, sizeof *q);
    if (!q || !q->name || ensi_ask_init(c, &q->ask, &q->h, c->max_answer_bytes) != ENSIGN_OK) {
        if (q) ensi_req_free(c, &q->h);
        return NULL;
    }
    q->kind = kind;
    q->ask.call.no_token = kind == ENSI_REQ_STATUS || kind == ENSI_REQ_HEALTH || kind == ENSI_REQ_WATCH;
    if (kind != ENSI_REQ_WATCH) return q;
    q->ask.call.unary = q->ask.call.s.rx.one = false;
    q->h.reopen = &q->reopen;
    return q;
}

/* Encodes what is asked. The request goes, and NULL comes, where it is too large, or there is no memory for
 * it. */
static ensi_req_t *ensi_req_say(ensign_t *c, ensi_req_t *q, const pb_msgdesc_t *fields, const void *message)
{
    bool sized = q && ensi_pb_size(fields, message, &q->request_len);
    if (!q) return NULL;
    if (sized && q->request_len > c->max_answer_bytes) {
        ensi_env_fail(&c->env, ENSIGN_E_TOO_LARGE,
                      "request: %lu bytes, max_answer_bytes allows %lu; raise it",
                      (unsigned long)q->request_len, (unsigned long)c->max_answer_bytes);
        ensi_req_free(c, &q->h);
        return NULL;
    }
    if (sized) q->request = (uint8_t *)ensi_mem_take(&c->env.mem, q->request_len + 1);
    if (q->request && ensi_pb_encode(fields, message, q->request, q->request_len, &q->request_len)) return q;
    ensi_env_memory(&c->env, q->request_len);
    ensi_req_free(c, &q->h);
    return NULL;
}

static ensign_request_t ensi_req_open(ensign_t *c, ensi_req_t *q, void *user)
{
    ensign_request_t r = { 0 };
    bool watch = q && q->kind == ENSI_REQ_WATCH;
    if (!q) {
        c->env.opening = ENSI_OPENING_FAILED;
        return r;
    }
    ensi_timer_start(&q->timer, watch ? ENSIGN_FOREVER : c->request_timeout_ms);
    r.id = ensi_state_add(c, &q->h, watch ? &ensi_req_watch_kind : &ensi_req_kind, &q->ask.call, user);
    if (q->kind != ENSI_REQ_AUTH) ensi_req_ask(c, q);
    return r;
}

/* The service's rule: ^[a-zA-Z][a-zA-Z0-9.\-_]*$, at most 512 bytes */
static bool ensi_req_good_name(ensign_t *c, const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    size_t len = ensign_str(name).len;
    if (len > 0 && len <= ENSI_TOPIC_NAME_MAX && strspn(name, letters) == len &&
        strchr(letters + 52, name[0]) == NULL)
        return true;
    ensi_env_fail(
        &c->env, ENSIGN_E_ARGUMENT,
        "topic: \"%.80s\" is no topic name: a letter, then letters, digits, . - _, at most %d bytes",
        name ? name : "", ENSI_TOPIC_NAME_MAX);
    return false;
}

/* ---- policies: a Deduplication, whose lists are spans, made in a scratch block first */

static uint8_t *ensi_req_put_list(uint8_t *p, uint32_t tag, const char *const *list, size_t count,
                                  size_t *size)
{
    size_t n = 0;
    for (size_t i = 0; i < count && n <= ENSI_SERVER_MESSAGE_MAX;
         i++) /* more is refused, and must not wrap */
        n += ensi_pb_bytes_size(tag, ensign_str(list[i]).len);
    for (size_t i = 0; p && i < count; i++) p = ensi_pb_put_bytes(p, tag, ensign_str(list[i]));
    *size = n;
    return p;
}

/* *scratch holds the lists until the message is encoded; the caller frees it. False: no memory, or more than
 * the server takes in a request, or than the memory bound counts on. */
static bool ensi_req_policy(ensign_t *c, const ensign_dedup_t *d, ensi_pb_deduplication_t *out,
                            uint8_t **scratch)
{
    size_t keys = 0, fields = 0, max = ensi_min(c->max_answer_bytes, ENSI_SERVER_MESSAGE_MAX);
    uint8_t *p;
    memset(out, 0, sizeof *out);
    *scratch = NULL;
    if (!d) return true;
    ensi_req_put_list(NULL, ENSI_PB_DEDUPLICATION_KEYS_TAG, d->keys, d->key_count, &keys);
    ensi_req_put_list(NULL, ENSI_PB_DEDUPLICATION_FIELDS_TAG, d->fields, d->field_count, &fields);
    max -= ensi_min(max, ENSI_REQ_TOPIC); /* all else of the request */
    if (keys + fields > max) {
        ensi_env_fail(
            &c->env, ENSIGN_E_TOO_LARGE,
            "topic: the policy's keys and fields take %lu bytes, max_answer_bytes allows %lu; name fewer",
            (unsigned long)(keys + fields), (unsigned long)max);
        return false;
    }
    p = *scratch = (uint8_t *)ensi_mem_take(&c->env.mem, keys + fields + 1);
    if (!p) {
        ensi_env_memory(&c->env, keys + fields + 1);
        return false;
    }
    out->strategy = d->strategy;
    out->offset = d->offset;
    out->overwrite_duplicate = d->overwrite_duplicate;
    out->keys.ptr = p;
    out->keys.len = keys;
    p = ensi_req_put_list(p, ENSI_PB_DEDUPLICATION_KEYS_TAG, d->keys, d->key_count, &keys);
    out->fields.ptr = p;
    out->fields.len = fields;
    ensi_req_put_list(p, ENSI_PB_DEDUPLICATION_FIELDS_TAG, d->fields, d->field_count, &fields);
    return true;
}

/* ---- public */

size_t ensign_request_memory_bound(const ensign_desc_t *d)
{
    size_t max = ensi_or(d->max_answer_bytes, ENSI_SERVER_MESSAGE_MAX), answer = max + ENSI_GRPC_PREFIX;
    size_t out = ensi_max(max, ENSI_REQ_TOKEN + 64) + ENSI_GRPC_PREFIX;
    /* a page that a topic is lent from and the next one, one buffer kept; a request that may be as large as a
     * message, encoded twice; metadata, nghttp2's of a stream */
    return sizeof(ensi_req_t) + 2 * answer + ensi_ask_window(max) + 2 * out +
           ensi_meta_bound(ENSI_GRPC_META) + 8192 + 1024;
}

/* Create, ensure: the Topic that CreateTopic gets. */
static ensign_request_t ensi_req_create(ensign_t *c, ensi_req_kind_t kind, const char *name,
                                        const ensign_dedup_t *dedup, void *user)
{
    ensi_req_t *q = NULL;
    ensi_pb_topic_t t;
    uint8_t *scratch = NULL;
    memset(&t, 0, sizeof t);
    t.name = ensign_str(name);
    t.has_deduplication = dedup != NULL;
    if (ensi_req_good_name(c, name) && ensi_req_policy(c, dedup, &t.deduplication, &scratch))
        q = ensi_req_say(c, ensi_req_new(c, kind, name), ensi_pb_topic_fields, &t);
    ensi_mem_free(&c->env.mem, scratch);
    if (q) q->creating = kind == ENSI_REQ_CREATE;
    return ensi_req_open(c, q, user);
}

ensign_request_t ensign_topic_create(ensign_t *c, const char *name, const ensign_dedup_t *dedup, void *user)
{
    return ensi_req_create(c, ENSI_REQ_CREATE, name, dedup, user);
}

ensign_request_t ensign_topic_ensure(ensign_t *c, const char *name, void *user)
{
    return ensi_req_create(c, ENSI_REQ_ENSURE, name, NULL, user);
}

ensign_request_t ensign_topic_exists(ensign_t *c, const char *name, const ensign_ulid_t *id, void *user)
{
    ensi_req_t *q = NULL;
    ensi_pb_topic_name_t t;
    char text[27] = "";
    bool named = ensign_str(name).len > 0;
    if (id) ensign_ulid_text(*id, text);
    memset(&t, 0, sizeof t);
    t.topic_id = ensign_str(text);
    t.name = ensign_str(name);
    if (!named && !id)
        ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT, "topic: neither a name nor an id is given to look for");
    else if (!named || ensi_req_good_name(c, name))
        q = ensi_req_say(c, ensi_req_new(c, ENSI_REQ_EXISTS, name), ensi_pb_topic_name_fields, &t);
    return ensi_req_open(c, q, user);
}

ensign_request_t ensign_topic_by_name(ensign_t *c, const char *name, void *user)
{
    return ensi_req_open(c, ensi_req_good_name(c, name) ? ensi_req_new(c, ENSI_REQ_FIND, name) : NULL, user);
}

ensign_request_t ensign_topic_by_id(ensign_t *c, ensign_ulid_t id, void *user)
{
    ensi_pb_topic_t t;
    memset(&t, 0, sizeof t);
    t.id = ensi_slice(id.b, sizeof id.b);
    return ensi_req_open(
        c, ensi_req_say(c, ensi_req_new(c, ENSI_REQ_RETRIEVE, NULL), ensi_pb_topic_fields, &t), user);
}

ensign_request_t ensign_topic_list(ensign_t *c, void *user)
{
    return ensi_req_open(c, ensi_req_new(c, ENSI_REQ_LIST, NULL), user);
}

ensign_request_t ensign_topic_names(ensign_t *c, void *user)
{
    return ensi_req_open(c, ensi_req_new(c, ENSI_REQ_NAMES, NULL), user);
}

static ensign_request_t ensi_req_delete(ensign_t *c, ensign_ulid_t id, int operation, void *user)
{
    ensi_pb_topic_mod_t t;
    ensi_req_t *q;
    char text[27];
    ensign_ulid_text(id, text);
    memset(&t, 0, sizeof t);
    t.id = ensign_str(text);
    t.operation = operation;
    q = ensi_req_say(c, ensi_req_new(c, ENSI_REQ_DELETE, NULL), ensi_pb_topic_mod_fields, &t);
    if (q) q->id = id;
    return ensi_req_open(c, q, user);
}

ensign_request_t ensign_topic_archive(ensign_t *c, ensign_ulid_t id, void *user)
{
    return ensi_req_delete(c, id, ENSI_REQ_ARCHIVE, user);
}

ensign_request_t ensign_topic_destroy(ensign_t *c, ensign_ulid_t id, void *user)
{
    return ensi_req_delete(c, id, ENSI_REQ_DESTROY, user);
}

/* The deduplication is always there, though it may be empty: without one server 0.12 fails at the request. */
static ensign_request_t ensi_req_set(ensign_t *c, ensign_ulid_t id, const ensign_dedup_t *dedup, int sharding,
                                     void *user)
{
    ensi_pb_topic_policy_t t;
    ensi_req_t *q = NULL;
    uint8_t *scratch = NULL;
    char text[27];
    ensign_ulid_text(id, text);
    memset(&t, 0, sizeof t);
    t.id = ensign_str(text);
    t.sharding_strategy = sharding;
    t.has_deduplication_policy = true;
    if (ensi_req_policy(c, dedup, &t.deduplication_policy, &scratch))
        q = ensi_req_say(c, ensi_req_new(c, ENSI_REQ_POLICY, NULL), ensi_pb_topic_policy_fields, &t);
    ensi_mem_free(&c->env.mem, scratch);
    if (q) q->id = id;
    return ensi_req_open(c, q, user);
}

ensign_request_t ensign_topic_set_dedup(ensign_t *c, ensign_ulid_t id, const ensign_dedup_t *dedup,
                                        void *user)
{
    if (dedup) return ensi_req_set(c, id, dedup, ENSIGN_SHARDING_UNKNOWN, user);
    ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT, "topic: no policy is given; ENSIGN_DEDUP_NONE is one");
    return ensi_req_open(c, NULL, user);
}

ensign_request_t ensign_topic_set_sharding(ensign_t *c, ensign_ulid_t id, int strategy, void *user)
{
    return ensi_req_set(c, id, NULL, strategy, user);
}

ensign_request_t ensign_info(ensign_t *c, const ensign_ulid_t *topics, size_t count, void *user)
{
    ensi_pb_info_request_t t;
    ensi_req_t *q = NULL;
    size_t size = 0, max = ensi_min(c->max_answer_bytes, ENSI_SERVER_MESSAGE_MAX) / 18;
    uint8_t *scratch, *p;
    memset(&t, 0, sizeof t);
    if (count <= max) size = count * 18; /* tag, length, 16 bytes */
    if (count > 0 && size == 0) {
        ensi_env_fail(&c->env, ENSIGN_E_TOO_LARGE,
                      "info: %lu topics are asked for, max_answer_bytes allows %lu; ask for fewer",
                      (unsigned long)count, (unsigned long)max);
        return ensi_req_open(c, NULL, user);
    }
    p = scratch = (uint8_t *)ensi_mem_take(&c->env.mem, size + 1);
    for (size_t i = 0; p && i < count; i++)
        p = ensi_pb_put_bytes(p, ENSI_PB_INFO_REQUEST_TOPICS_TAG, ensi_slice(topics[i].b, 16));
    t.topics.ptr = scratch;
    t.topics.len = size;
    if (scratch) q = ensi_req_say(c, ensi_req_new(c, ENSI_REQ_INFO, NULL), ensi_pb_info_request_fields, &t);
    else ensi_env_memory(&c->env, size);
    ensi_mem_free(&c->env.mem, scratch);
    return ensi_req_open(c, q, user);
}

ensign_request_t ensign_explain(ensign_t *c, const ensign_query_desc_t *d)
{
    ensi_pb_query_t query;
    uint8_t *scratch;
    ensi_req_t *q = NULL;
    if (ensi_query_message(c, d->sql, d->params, d->param_count, &query, &scratch) == ENSIGN_OK) {
        query.include_duplicates = d->include_duplicates;
        q = ensi_req_say(c, ensi_req_new(c, ENSI_REQ_EXPLAIN, NULL), ensi_pb_query_fields, &query);
        ensi_mem_free(&c->env.mem, scratch);
    }
    return ensi_req_open(c, q, d->user);
}

ensign_request_t ensign_status(ensign_t *c, void *user)
{
    return ensi_req_open(c, ensi_req_new(c, ENSI_REQ_STATUS, NULL), user);
}

ensign_request_t ensign_health(ensign_t *c, const char *service, bool watch, void *user)
{
    ensi_pb_health_check_request_t t;
    ensi_req_t *q = NULL;
    memset(&t, 0, sizeof t);
    t.service = ensign_str(service);
    if (t.service.len <= ENSI_TOPIC_NAME_MAX)
        q = ensi_req_say(c, ensi_req_new(c, watch ? ENSI_REQ_WATCH : ENSI_REQ_HEALTH, NULL),
                         ensi_pb_health_check_request_fields, &t);
    else
        ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT, "health: a service's name of %lu bytes, %d are allowed",
                      (unsigned long)t.service.len, ENSI_TOPIC_NAME_MAX);
    return ensi_req_open(c, q, user);
}

ensign_request_t ensign_auth_status(ensign_t *c, void *user)
{
    ensi_req_t *q = NULL;
    if (c->auth_target.endpoint_count > 0) q = ensi_req_new(c, ENSI_REQ_AUTH, NULL);
    else
        ensi_env_fail(&c->env, ENSIGN_E_STATE,
                      "auth: this client has no auth service; give auth_url, or a client_id");
    if (q) {
        q->probe = c->auth.said.count + 1;
        c->auth.probe_wanted = !c->auth.probing; /* one that runs will do */
    }
    return ensi_req_open(c, q, user);
}
#endif /* ENSIGN_NO_SERVICE */

/* >>client   may call: all
 * Running the client: connect, pump, notices, endings
 *
 * Owns   which of the two connections takes new calls (`conn`) and which one drains, with its drain timer;
 *        which link is wanted; the order of work.
 * Holds  one pump acts on everything that has been noted: it starts links, serves touched objects, submits
 *        queued calls, and sends. It runs at the end of each function that moves a link or the time, and
 *        never inside a callback. `work` is false after it: only bytes, time or a call of the user make more.
 *        The pump ends: a turn is repeated where a connection was given up or begins to drain, where auth has
 *        answered a probe, and for streams that were touched; serving one that has ended touches nothing.
 *        A tick without work and without a timer that is due does nothing, so that an idle turn is cheap.
 * Moves  GOAWAY with calls open: the other connection becomes `conn`, streams without an end leave the old
 *        one, and it ends with its last call, or is cut.
 *        FAILED and CLOSED are final; every handle has its END before. CLOSED follows each ensign_close,
 *        behind FAILED if that came too. */

/* ---- notices of the client */

/* FAILED and CLOSED are not looked at here: ensign_next gives them behind all others. */
static bool ensi_self_has(ensi_handle_t *h)
{
    return (h->bits & (ENSI_BIT_CONNECTED | ENSI_BIT_DISCONNECTED | ENSI_BIT_GOAWAY)) != 0;
}

static void ensi_client_place(ensi_place_t *p, const ensi_link_t *l)
{
    p->endpoint = l->end->text;
    memcpy(p->address, l->peer, sizeof p->address);
}

static void ensi_client_note(ensign_t *c, uint32_t bit)
{
    ensi_handle_t *h = &c->self;
    if (bit == ENSI_BIT_CONNECTED) ensi_client_place(&c->connected, c->conn->link);
    if (bit == ENSI_BIT_DISCONNECTED) {
        ensi_client_place(&c->lost, c->conn->link);
        if (!(h->bits & bit)) c->goaway_first = (h->bits & ENSI_BIT_GOAWAY) != 0;
        h->bits &= ~(uint32_t)ENSI_BIT_CONNECTED; /* the later truth */
    }
    h->bits |= bit;
    ensi_state_ready(c, h, ensi_self_has(h));
}

/* Is a connection wanted? A first one always: a program learns early that it cannot be had. */
static bool ensi_client_demand(const ensign_t *c)
{
    if (c->failed || c->closed) return false;
    return (c->connects == 0 && !c->closing) || c->handles.busy > 0;
}

static ensign_notice_t *ensi_self_pull_goaway(ensign_t *c, ensi_handle_t *h)
{
    ensign_notice_t *n = ensi_notice_bit(h, ENSI_BIT_GOAWAY, ENSIGN_NOTICE_GOAWAY);
    if (!n) return NULL;
    h->error = c->goaway;
    n->error = &h->error;
    return n;
}

static ensign_notice_t *ensi_self_pull(ensign_t *c, ensi_handle_t *h)
{
    ensign_notice_t *n = c->goaway_first ? ensi_self_pull_goaway(c, h) : NULL;
    c->goaway_first = false;
    if (n) return n;
    n = ensi_notice_bit(h, ENSI_BIT_DISCONNECTED, ENSIGN_NOTICE_DISCONNECTED);
    if (n) {
        const ensi_timer_t *wait = &c->rpc_target.timer;
        uint32_t wait_ms = ensi_target_waits(&c->rpc_target) ? ensi_timer_left(wait, c->env.now_ms) : 0;
        h->error = c->last_fault;
        n->error = &h->error;
        n->as.disconnected.retry_in_ms = ensi_client_demand(c) ? wait_ms : ENSIGN_FOREVER;
        c->shown = c->lost;
        n->as.disconnected.endpoint = c->shown.endpoint;
        n->as.disconnected.address = c->shown.address;
        return n;
    }
    if ((n = ensi_self_pull_goaway(c, h)) != NULL) return n;
    if ((n = ensi_notice_bit(h, ENSI_BIT_CONNECTED, ENSIGN_NOTICE_CONNECTED)) != NULL) {
        c->shown = c->connected;
        n->as.connected.endpoint = c->shown.endpoint;
        n->as.connected.address = c->shown.address;
        return n;
    }
    if ((n = ensi_notice_bit(h, ENSI_BIT_FAILED, ENSIGN_NOTICE_FAILED)) != NULL) {
        n->error = &c->final_error;
        return n;
    }
    n = ensi_notice_bit(h, ENSI_BIT_CLOSED, ENSIGN_NOTICE_CLOSED);
    if (n) n->last = true;
    return n;
}

static const ensi_kind_t ensi_client_kind = {
    "client", false, ensi_self_has, ensi_self_pull, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
};

/* ---- the handles' timers */

/* When the handle's next timer is due: after anything that may have started or stopped one. */
static void ensi_client_schedule(ensign_t *c, ensi_handle_t *h)
{
    uint64_t due = UINT64_MAX;
    if (!h->done) due = ensi_timer_sooner(ensi_timer_sooner(h->kind->due(h), &h->close_timer), &h->give_up);
    ensi_handle_schedule(&c->handles, h, due);
    ENSIGN_ASSERT(ensi_handle_holds(&c->handles, h));
}

static void ensi_client_free_handle(ensign_t *c, ensi_handle_t *h)
{
    ensi_handle_remove(&c->handles, h);
    h->kind->free(c, h);
}

/* ---- ending all */

/* Ends a handle now. drop: what it has received and not given yet goes. */
static void ensi_client_end_handle(ensign_t *c, ensi_handle_t *h, int status, const ensign_error_t *why,
                                   bool drop)
{
    if (h->done) return;
    ensi_grpc_abort(h->call, status, why->code, "%s", why->text);
    h->call->end_status = status;
    h->call->from_server = false;
    if (drop && h->kind->drop) h->kind->drop(c, h);
    h->kind->end(c, h, why);
    ensi_client_schedule(c, h);
    ensi_state_ready(c, h, h->kind->has(h));
}

static void ensi_client_end_all(ensign_t *c, int status, const ensign_error_t *why)
{
    for (ensi_handle_t *h = c->handles.oldest; h; h = h->newer)
        ensi_client_end_handle(c, h, status, why, false);
}

/* What the server said with its GOAWAY; `more`: what became of it. */
static void ensi_client_goaway_error(ensign_error_t *e, const ensi_conn_t *n, const char *more)
{
    const ensi_h2_t *h = &n->h2;
    ensi_fail(e, ENSIGN_E_GOAWAY, (int)h->goaway_code,
              "http2: %s wants this connection to end (GOAWAY: %s%s%.60s)%s", ensi_link_where(n->link),
              nghttp2_http2_strerror(h->goaway_code), h->goaway_text[0] ? ": " : "", h->goaway_text, more);
}

/* Ends the session; why its streams are lost stands in `over`: GOAWAY, where that was in. */
static void ensi_client_end_session(ensi_conn_t *n)
{
    char more[100] = "; it is closed";
    if (n->h2.session) n->over = n->link->fault;
    if (n->over.code < 0 && n->over.code != ENSIGN_E_CLOSED)
        ensi_fmt(more, sizeof more, "; its end: %.80s", n->over.text);
    if (n->h2.draining && n->over.code != ENSIGN_E_GOAWAY) ensi_client_goaway_error(&n->over, n, more);
    ensi_h2_stop(&n->h2);
    ensi_timer_stop(&n->drain);
    ensi_ping_clear(n);
    n->connected = n->goaway_told = false;
}

static void ensi_client_hang_up(ensign_t *c)
{
    for (size_t i = 0; i < ENSI_COUNT(c->conns); i++) ensi_client_end_session(&c->conns[i]);
    for (int i = 0; i < ENSIGN_MAX_LINKS; i++) ensi_link_stop(&c->links[i]);
    c->auth.probe_wanted = false;
    ensi_timer_stop(&c->auth.renew);
    ensi_timer_stop(&c->auth.expire);
}

/* The client has failed for good. */
static void ensi_client_final(ensign_t *c, int status, const ensign_error_t *why)
{
    if (c->failed || c->closed) return;
    c->final_error = *why;
    c->failed = true;
    ENSI_LOG((&c->env, ENSIGN_LOG_ERROR, "client: failed for good: %s", why->text));
    ensi_client_end_all(c, status, &c->final_error);
    ensi_client_hang_up(c);
    ensi_client_note(c, ENSI_BIT_FAILED);
}

/* ---- links */

/* Returns the connection that a link belongs to, or NULL. */
static ensi_conn_t *ensi_client_conn(ensign_t *c, const ensi_link_t *l)
{
    for (size_t i = 0; i < ENSI_COUNT(c->conns); i++)
        if (c->conns[i].link == l) return &c->conns[i];
    return NULL;
}

static ensi_conn_t *ensi_client_other(ensign_t *c, const ensi_conn_t *n)
{
    return &c->conns[n == &c->conns[0]];
}

/* The streams that can be opened anew leave the draining connection: there is another one, or it cannot be
 * had. A server that stops gracefully closes its port and waits for its streams: streams that waited for a
 * new connection first would wait for ever. */
static void ensi_client_evict(ensi_conn_t *n)
{
    if (!n->h2.draining || n->h2.evicting) return;
    n->h2.evicting = true;
    ensi_h2_touch_all(&n->h2);
}

/* The connection is over: its streams are lost, its reason is kept. The end of one that drained beside the
 * newer one concerns nobody else. */
static void ensi_client_conn_over(ensign_t *c, ensi_conn_t *n)
{
    ensi_link_t *l = n->link;
    ensi_client_end_session(n);
    if (n != c->conn || l->fault.code == 0 || l->orderly) return;
    c->last_fault = l->fault;
    c->faults++;
    ENSI_LOG((&c->env, ENSIGN_LOG_WARNING, "%s", l->fault.text));
    if (c->failed || c->closed || ensi_link_goes_on(l)) return;
    if (l->trying && l->target->endpoint_count > 1)
        ensi_fail(&c->last_fault, l->fault.code, l->fault.native, "%.190s; each of %u endpoints has failed",
                  l->fault.text, (unsigned)l->target->endpoint_count);
    ensi_client_evict(ensi_client_other(c, n));
    ensi_client_note(c, ENSI_BIT_DISCONNECTED);
}

static void ensi_client_went_down(ensign_t *c, ensi_link_t *l)
{
    ensi_conn_t *n = ensi_client_conn(c, l);
    if (n) ensi_client_conn_over(c, n);
    else ensi_auth_lost(&c->auth);
}

/* Ends a link from our side; its fault, if any, is set. */
static void ensi_client_stop_link(ensign_t *c, ensi_link_t *l)
{
    bool open = l->state != ENSI_LINK_IDLE;
    ensi_conn_t *n = ensi_client_conn(c, l);
    ensi_link_stop(l);
    if (n) ensi_client_end_session(n);
    if (open && l->state == ENSI_LINK_IDLE) ensi_client_went_down(c, l);
}

static void ensi_client_settled(ensign_t *c, ensi_conn_t *n)
{
    if (n->connected || !n->h2.settled) return;
    n->connected = true;
    n->before = c->rpc_target.backoff;
    ensi_timer_stop(&n->link->timer);
    ensi_link_works(n->link);
    if (c->connects++ > 0) c->env.stats.reconnects++;
    ENSI_LOG((&c->env, ENSIGN_LOG_INFO, "rpc: connected to %s%s%s", ensi_link_where(n->link),
              n->link->end->proxy ? " through " : "",
              n->link->end->proxy ? n->link->end->proxy->host.where : ""));
    ensi_client_note(c, ENSI_BIT_CONNECTED);
    ensi_client_evict(ensi_client_other(c, n));
}

/* The server has answered a call: its connection is good. */
static void ensi_client_good(ensign_t *c, const ensi_conn_t *n)
{
    if (n == c->conn) c->rpc_target.backoff.failures = 0;
}

/* The first byte shows another protocol: SETTINGS begins with 0, a TLS alert with 21 (RFC 8446, 5.1), an
 * HTTP/1.1 answer with 'H'. */
static int ensi_client_hear(ensi_link_t *l, uint8_t first)
{
    enum { ALERT = 21 };
    bool known = !l->heard && ((first == ALERT && !l->end->tls) || first == 'H');
    l->heard = true;
    if (!known) return ENSIGN_OK;
    if (first == ALERT && ensi_link_is_external(l))
        return ensi_fail(&l->fault, ENSIGN_E_PROTOCOL, 0,
                         "http2: what came from %s is a record of TLS; with tls.external put into rx what "
                         "your TLS has decrypted, and give it what is in tx",
                         ensi_link_where(l));
    return ensi_fail(&l->fault, ENSIGN_E_PROTOCOL, 0,
                     first == ALERT ? "http2: %s speaks TLS, this client plaintext; unset tls.off "
                                      "(ENSIGN_INSECURE), or use the right port"
                                    : "http2: %s answers in HTTP/1, as the auth service or a web server "
                                      "does; endpoint must be the host and port of gRPC",
                     ensi_link_where(l));
}

static void ensi_client_receive_rpc(ensign_t *c, ensi_conn_t *n)
{
    ensi_link_t *l = n->link;
    const uint8_t *p;
    size_t len;
    int rc = ensi_link_shake(l);
    if (rc == ENSIGN_OK && !n->h2.session && ensi_h2_start(&n->h2, c->connection_window) != ENSIGN_OK)
        rc = ensi_fail(&l->fault, ENSIGN_E_MEMORY, 0, "http2: no memory for a session");
    while (rc == ENSIGN_OK && (rc = ensi_link_read(l, &p, &len)) == ENSIGN_OK) {
        rc = ensi_client_hear(l, p[0]);
        if (rc == ENSIGN_OK) rc = ensi_h2_receive(&n->h2, p, len);
        ensi_ping_heard(c, n);
        if (rc == ENSIGN_E_MEMORY)
            ensi_link_fault(l, rc, 0, "http2: no memory to go on with %s; free some or raise memory_limit",
                            ensi_link_where(l));
        if (rc < 0)
            ensi_link_fault(l, rc, n->h2.fault_code, "http2: the session with %s cannot go on: %.120s%s",
                            ensi_link_where(l), n->h2.fault,
                            n->connected ? "" : "; is this the port of a gRPC server?");
    }
    ensi_client_settled(c, n);
    if (rc < 0) {
        ensi_link_fault(l, rc, 0, "rpc: the connection to %s failed", ensi_link_where(l));
        ensi_client_stop_link(c, l);
    }
}

/* Sends what is there, as far as it fits. */
static void ensi_client_transmit(ensign_t *c, ensi_conn_t *n)
{
    ensi_link_t *l = n->link;
    size_t room = 0, len = 0;
    n->h2.held_up = false;
    /* a send that leaves room has taken all that nghttp2 had */
    while (room - len < ENSI_H2_SCRAP && ensi_h2_wants_write(&n->h2)) {
        uint8_t *out = ensi_link_reserve(l, &room);
        int rc;
        len = 0;
        n->h2.held_up = true; /* too little room is left, or none */
        if (room == 0) return;
        rc = ensi_h2_send(&n->h2, out, room, &len);
        if (rc == ENSIGN_OK) rc = ensi_link_commit(l, len);
        if (rc < 0) {
            ensi_wipe(out, len);
            ensi_link_fault(l, rc, 0, "rpc: cannot go on sending to %s: %s", ensi_link_where(l),
                            ensign_result_text(rc));
            ensi_client_stop_link(c, l);
            return;
        }
        if (len == 0) return;
        n->h2.held_up = false;
    }
}

/* Does the connection end by agreement, so that the next one is due at once? One that was of no use does not.
 * Nor does the second one in a row that lived less than backoff_min_ms and gave few answers: a server that
 * answers once and goes is not to be dialled in a loop. */
static bool ensi_client_agreed(const ensi_conn_t *n)
{
    return n->h2.goaway_code == NGHTTP2_NO_ERROR && n->h2.answers > 0 && !n->early_again;
}

/* A short connection that ends without agreement has mended nothing: the failures before it count on, else
 * its one answer would keep the backoff from growing. */
static void ensi_client_relapse(ensign_t *c, const ensi_conn_t *n)
{
    bool brief = c->env.now_ms - n->link->since_ms < c->env.backoff_max_ms;
    if (brief && n->before.failures > c->rpc_target.backoff.failures) c->rpc_target.backoff = n->before;
}

/* Marks the end of a draining connection as orderly, where no backoff is to follow. */
static void ensi_client_mark_orderly(ensign_t *c, ensi_conn_t *n)
{
    if (!n->h2.draining) return;
    n->link->orderly = n != c->conn || ensi_client_agreed(n);
    if (!n->link->orderly) ensi_client_relapse(c, n);
}

static void ensi_client_cut(ensign_t *c, ensi_conn_t *n, const char *why)
{
    ensi_client_mark_orderly(c, n);
    if (n->link->fault.code == 0) ensi_client_goaway_error(&n->link->fault, n, why);
    ensi_client_stop_link(c, n->link);
}

/* Is there memory for a connection beside the one that drains? */
static bool ensi_client_fits(const ensign_t *c)
{
    size_t need = ensi_h2_memory(c->conn->h2.header_max) + ensi_target_memory(&c->rpc_target);
    return c->env.mem.limit == 0 || c->env.mem.limit - c->env.mem.used >= need;
}

/* The connection of new calls drains while some still run: the other one takes its place. Where that drains
 * too, it is cut. */
static void ensi_client_replace(ensign_t *c, ensi_conn_t *n)
{
    ensi_conn_t *o = ensi_client_other(c, n);
    ensi_link_t *l = n->link;
    if (o->h2.session) ensi_client_cut(c, o, "; so does the next one, which replaces it: it is cut");
    if (!ensi_client_fits(c)) {
        ensi_client_evict(n);
        return;
    }
    if (!ensi_client_agreed(n)) {
        ensi_client_relapse(c, n);
        ensi_target_fail(&c->rpc_target, &c->env);
        c->last_fault = c->goaway;
        c->faults++;
    }
    l->orderly = true;
    c->conn = o;
}

/* GOAWAY concerns every stream of the connection at once. */
static void ensi_client_drain(ensign_t *c, ensi_conn_t *n)
{
    enum { MANY = 8 };
    bool early = c->env.now_ms - n->link->since_ms < c->env.backoff_min_ms && n->h2.answers < MANY;
    if (n->goaway_told) return;
    n->goaway_told = true;
    n->early_again = early && c->last_goaway_early;
    c->last_goaway_early = early;
    ensi_client_goaway_error(&c->goaway, n, "");
    ENSI_LOG((&c->env, ENSIGN_LOG_INFO, "%s", c->goaway.text));
    ensi_client_note(c, ENSI_BIT_GOAWAY);
    ensi_timer_start(&n->drain, c->drain_timeout_ms);
    ensi_h2_touch_all(&n->h2);
    if (n == c->conn && n->h2.open > 0) ensi_client_replace(c, n);
}

/* A session that is done, or drained after GOAWAY, ends its connection. */
static bool ensi_client_check_session(ensign_t *c, ensi_conn_t *n)
{
    ensi_link_t *l = n->link;
    ensi_h2_t *h = &n->h2;
    bool drained = h->draining && h->open == 0; /* what tx has no room for is of no stream any more */
    if (!h->session || l->state != ENSI_LINK_RUN || (!drained && ensi_h2_alive(h))) return false;
    if (h->draining) {
        ensi_client_cut(c, n, "");
        return true;
    }
    ensi_link_fault(l, ENSIGN_E_PROTOCOL, h->fault_code, "http2: the session with %s is over: %.120s%s",
                    ensi_link_where(l), h->fault, n->connected ? "" : "; is this the port of a gRPC server?");
    ensi_client_stop_link(c, l);
    return true;
}

/* ---- the pump */

/* What the wire did to a call. */
static void ensi_client_facts(ensign_t *c, ensi_call_t *call)
{
    ensi_stream_t *s = &call->s;
    const ensi_conn_t *n = (const ensi_conn_t *)(const void *)s->carrier;
    if (call->state != ENSI_GRPC_OPEN) return;
    if (s->headers_done && !s->lost) ensi_client_good(c, n);
    if (s->no_memory) {
        ensi_grpc_abort(call, ENSIGN_GRPC_RESOURCE_EXHAUSTED, ENSIGN_E_MEMORY,
                        "memory: none for what the server sends; free some or raise memory_limit");
    } else if (s->overrun) {
        ensi_grpc_abort(call, ENSIGN_GRPC_INTERNAL, ENSIGN_E_ABUSE,
                        "http2: the server sends more than the window that it was given");
    } else if (s->closed && s->lost && !s->ended) {
        if (s->headers_sent || !ensi_grpc_retry(call)) ensi_grpc_lost(call, &n->over);
    } else if (s->closed && s->close_code == NGHTTP2_REFUSED_STREAM && !s->headers_done) {
        if (ensi_grpc_retry(call)) return;
        if (n->h2.draining) {
            ensign_error_t e;
            ensi_client_goaway_error(&e, n, "");
            ensi_grpc_lost(call, &e);
        } else {
            ensi_grpc_judge(call);
        }
        call->unprocessed = true;
    } else if (s->deaf && s->headers_done && strlen(s->words) + 1 == sizeof s->words) {
        ensi_grpc_end_deaf(call);
    } else if (s->closed || s->ended) {
        ensi_h2_reset(s, NGHTTP2_NO_ERROR); /* the server has ended the call: our side ends too */
        if (s->ended) s->close_code = NGHTTP2_NO_ERROR;
        ensi_grpc_judge(call);
    }
}

static void ensi_client_touched(ensign_t *c)
{
    ensi_stream_t *s;
    while ((s = ensi_touched_take(&c->calls.touched)) != NULL) {
        ensi_call_t *call = (ensi_call_t *)(void *)s;
        ensi_handle_t *h = call->owner;
        ensi_client_facts(c, call);
        /* what is opened again does it at the end of its serve, when the buffer has room again */
        if (!h->reopen || call != h->call) ensi_state_grant(c, call);
        h->kind->serve(c, h);
        ensi_client_schedule(c, h);
    }
}

/* Why a call that does not wait cannot go now; NULL: it can, or it waits for a first connection, or for the
 * next one after a GOAWAY. */
static const char *ensi_client_refusal(const ensign_t *c, const ensi_call_t *call)
{
    const ensign_error_t *link = ensi_state_link_fault(c);
    bool again = c->rpc_target.backoff.failures > 1;
    if (call->wait_for_ready) return NULL;
    if (ensi_target_waits(&c->rpc_target) && link && (again || link->code != ENSIGN_E_GOAWAY))
        return link->text;
    if (ensi_state_needs_token(c, call) && ensi_auth_failing(&c->auth)) return c->auth.fault.text;
    return NULL;
}

/* What decides on the calls that wait, as one number: while it stays the same, so do they. */
static uint64_t ensi_client_gate(const ensign_t *c)
{
    uint64_t gate = (uint64_t)c->faults + c->auth.faults;
    gate = gate * 2 + ensi_target_waits(&c->rpc_target);
    gate = gate * 2 + (c->conn == &c->conns[1]);
    gate = gate * 2 + c->conn->connected;
    gate = gate * 2 + c->conn->h2.draining;
    gate = gate * 2 + ensi_h2_can_open(&c->conn->h2);
    gate = gate * 2 + (c->auth.bearer != NULL);
    gate = gate * 8 + (uint64_t)c->auth.state;
    return gate * 8 + (uint64_t)c->conn->link->state;
}

/* A call that is held up: its handle tells why, once for each change of what decides. */
static void ensi_client_held_up(ensign_t *c, const ensi_call_t *call)
{
    ensi_handle_t *h = call->owner;
    const ensign_error_t *why = NULL;
    ensign_error_t e;
    uint32_t gate = (uint32_t)ensi_client_gate(c);
    char room[200];
    if (h->told_gate == gate) return;
    if (c->env.log && h->told_gate == 0) /* the first time that it has to wait */
        ensi_state_log(c, h, "queued,", ensi_state_obstacle(c, call, room, sizeof room));
    h->told_gate = gate;
    if (ensi_state_needs_token(c, call) && !c->auth.bearer) {
        if (ensi_state_no_token(c)) why = &c->auth.fault;
    } else if (!c->conn->connected) {
        if (ensi_target_waits(&c->rpc_target)) why = ensi_state_link_fault(c);
    } else if (c->conn->h2.settled) { /* else it is about to end */
        ensi_fail(&e, c->conn->h2.draining ? ENSIGN_E_GOAWAY : ENSIGN_E_RESOURCE_EXHAUSTED, 0, "%s: %s",
                  call->method, ensi_state_obstacle(c, call, NULL, 0));
        why = &e;
    }
    if (why) ensi_state_waits(c, h, why);
}

/* A call is on the wire: what it waited for is over. A stream that is opened again keeps its reason until it
 * stands. A call that comes back unsent is not told the same reason again; its server's answer ends that. */
static void ensi_client_sent(ensign_t *c, ensi_handle_t *h)
{
    uint32_t told = h->reopen ? 0 : h->told;
    if (h->reopen && !h->standing) return;
    ensi_state_moves(h);
    h->told = told;
    ensi_state_ready(c, h, h->kind->has(h));
}

/* Returns :authority for the connection of new calls. A unix socket has no name of its own. */
static const char *ensi_client_authority(const ensign_t *c)
{
    const ensi_endpoint_t *end = c->conn->link->end;
    if (c->authority) return c->authority;
    return end && end->host.port != 0 ? end->text : "localhost";
}

/* Sends the calls that wait, as far as they may go. */
static void ensi_client_submit(ensign_t *c)
{
    ensi_call_t *next, *call = c->calls.head;
    ensi_h2_t *h2 = &c->conn->h2;
    if (!call) return;
    if (!c->calls.fresh && c->gate == ensi_client_gate(c)) return;
    c->calls.fresh = false;
    for (; call; call = next) {
        const char *refusal = ensi_client_refusal(c, call);
        int rc;
        next = call->queue_next;
        if (refusal) {
            ensi_grpc_abort(call, ENSIGN_GRPC_UNAVAILABLE, ENSIGN_E_UNAVAILABLE, "call: not sent: %.180s",
                            refusal);
            ensi_state_touch(c, call);
            continue;
        }
        if (!ensi_h2_can_open(h2) || (ensi_state_needs_token(c, call) && !c->auth.bearer)) {
            ensi_client_held_up(c, call);
            continue;
        }
        c->common.bearer = c->auth.bearer;
        c->common.authority = ensi_client_authority(c);
        call->s.lasting = call->owner->reopen && call->owner->call == call;
        rc = ensi_grpc_submit(call, h2, &c->common);
        if (rc == ENSIGN_OK) {
            ensi_grpc_dequeue(call);
            ENSI_LOG((&c->env, ENSIGN_LOG_DEBUG, "%s %lu: sent %s, stream %ld of %s", call->owner->kind->name,
                      (unsigned long)call->owner->id, call->method, (long)call->s.id, c->conn->link->name));
            ensi_client_sent(c, call->owner);
        } else if (rc == ENSIGN_AGAIN) {
            c->calls.fresh = true; /* it is asked again at the next step */
        } else if (rc == ENSIGN_E_MEMORY) {
            ensi_grpc_abort(call, ENSIGN_GRPC_RESOURCE_EXHAUSTED, ENSIGN_E_MEMORY,
                            "http2: no memory to send %s; free some or raise memory_limit", call->method);
            ensi_state_touch(c, call);
        }
    }
    c->gate = ensi_client_gate(c);
}

static void ensi_client_check_closed(ensign_t *c)
{
    if (!c->closing || c->closed || c->handles.busy > 0) return;
    c->closed = true;
    ENSI_LOG((&c->env, ENSIGN_LOG_DEBUG, "client: closed"));
    for (size_t i = 0; i < ENSI_COUNT(c->conns); i++) {
        ensi_h2_bye(&c->conns[i].h2);
        ensi_client_transmit(c, &c->conns[i]);
    }
    ensi_client_hang_up(c);
    ensi_client_note(c, ENSI_BIT_CLOSED);
}

static void ensi_client_start_links(ensign_t *c)
{
    bool demand = ensi_client_demand(c);
    if (demand) ensi_link_want(c->conn->link, c->connect_timeout_ms);
    ensi_auth_pump(&c->auth, demand, c->auth_timeout_ms);
    if (c->auth.state == ENSI_AUTH_DENIED) ensi_client_final(c, ENSIGN_GRPC_UNAUTHENTICATED, &c->auth.fault);
}

/* give_up runs while a connection is wanted (else nothing is tried, so nothing fails) and something fails on
 * the way to a call's first answer. */
static void ensi_client_watch(ensign_t *c)
{
    bool failing = c->rpc_target.backoff.failures > 0 || ensi_state_no_token(c);
    if (!failing || !ensi_client_demand(c)) ensi_timer_stop(&c->give_up);
    else if (c->give_up.state == ENSI_TIMER_OFF) ensi_timer_start(&c->give_up, c->give_up_after_ms);
}

/* The requests look whether an answer of auth's is theirs: all are touched, those of its status find it. */
static void ensi_client_tell_probe(ensign_t *c)
{
    if (c->probes_told == c->auth.said.count) return;
    c->probes_told = c->auth.said.count;
    for (ensi_handle_t *h = c->handles.oldest; h; h = h->newer) ensi_state_touch(c, h->call);
}

/* What is always true after a pump; for assertions. */
static ENSI_UNUSED bool ensi_client_holds(const ensign_t *c)
{
    bool links = true;
    for (int i = 0; i < ENSIGN_MAX_LINKS; i++) links = links && ensi_link_holds(&c->links[i]);
    return links && ensi_mem_holds(&c->env.mem) && ensi_auth_holds(&c->auth) && !c->calls.touched.first &&
           (!c->closed || c->handles.busy == 0) &&
           (!c->conns[0].h2.session || c->conns[0].link->state == ENSI_LINK_RUN) &&
           (!c->conns[1].h2.session || c->conns[1].link->state == ENSI_LINK_RUN) &&
           (!c->handles.dying || c->handles.dying->ended);
}

static void ensi_client_pump(ensign_t *c)
{
    bool more = true;
    c->env.stepping = true;
    while (more) {
        for (size_t i = 0; i < ENSI_COUNT(c->conns); i++)
            if (c->conns[i].h2.draining) ensi_client_drain(c, &c->conns[i]);
        ensi_client_tell_probe(c);
        ensi_client_touched(c);
        ensi_client_start_links(c); /* what was served may want a connection, or another token */
        ensi_client_submit(c);
        more = false;
        for (size_t i = 0; i < ENSI_COUNT(c->conns); i++) {
            if (!c->conns[i].h2.session) continue;
            ensi_client_transmit(c, &c->conns[i]);
            more |= ensi_client_check_session(c, &c->conns[i]);
            more |= c->conns[i].h2.draining && !c->conns[i].goaway_told; /* its stream ids are used up */
        }
        more |= c->calls.touched.first != NULL || c->probes_told != c->auth.said.count;
    }
    ensi_client_check_closed(c);
    ensi_client_watch(c);
    ENSIGN_ASSERT(ensi_client_holds(c));
    c->env.work = false;
    c->env.stepping = false;
}

/* Begins what a pump will end: the time is known, and `wake` is not called for work that is about to be
 * done. */
static void ensi_client_enter(ensign_t *c, uint64_t now_ms)
{
    ensi_env_time(&c->env, now_ms);
    c->env.stepping = true;
}

/* ---- timers */

/* Names what did not come in time; the text stands before the host's name. */
static const char *ensi_client_missed(const ensign_t *c, const ensi_link_t *l)
{
    if (l->state == ENSI_LINK_RESOLVE) return "nobody answered ENSIGN_LINK_RESOLVE by ensign_resolved for";
    if (l->state == ENSI_LINK_DIAL) return "no connection to";
    if (!l->shaken) return "the TLS handshake was not finished by";
    if (ensi_link_is_external(l) && !l->heard) return "nothing came through your TLS from";
    return l == c->auth.link ? "no answer to the request came from" : "no SETTINGS of HTTP/2 came from";
}

static void ensi_client_tick_link(ensign_t *c, ensi_link_t *l)
{
    const char *limit = l == c->auth.link ? "auth_timeout_ms" : "connect_timeout_ms";
    if (!ensi_timer_due(&l->timer, c->env.now_ms)) return;
    if (ENSI_HAS_PROXY && l->tunnel) ensi_link_stalled(l, limit);
    ensi_link_fault(l, ENSIGN_E_STALLED, 0, "%s: %s %s within %s", l->target->name,
                    ensi_client_missed(c, l), ensi_link_where(l), limit);
    ensi_client_stop_link(c, l);
}

/* Failing for give_up_after_ms. A connection that stands though no call has needed it is well. */
static void ensi_client_give_up(ensign_t *c)
{
    const ensign_error_t *why = ensi_state_fault(c);
    if (why) ensi_client_final(c, ENSIGN_GRPC_UNAVAILABLE, why);
    else c->rpc_target.backoff.failures = 0;
}

/* A handle's timers: its own; the end of its patience with a stream that is refused again and again, unless
 * one stands just now; and that of its close. */
static void ensi_client_tick_handle(ensign_t *c, ensi_handle_t *h)
{
    if (!h->done) h->kind->tick(c, h);
    if (ensi_timer_due(&h->give_up, c->env.now_ms) && !h->done) {
        const ensign_error_t *link = ensi_state_fault(c);
        ensign_error_t why = h->fault.code || !link ? h->fault : *link;
        if (why.code == 0)
            ensi_fail(&why, ENSIGN_E_UNAVAILABLE, 0, "%s: no stream within give_up_after_ms", h->kind->name);
        if (h->standing) ensi_timer_start(&h->give_up, c->give_up_after_ms);
        else ensi_client_end_handle(c, h, ENSIGN_GRPC_UNAVAILABLE, &why, false);
    }
    if (ensi_timer_due(&h->close_timer, c->env.now_ms) && !h->done) {
        ensign_error_t e;
        char room[200];
        const char *why = ensi_state_reason(c, h, room, sizeof room);
        ensi_fail(&e, ENSIGN_E_CANCELLED, 0, "%s: not ended within the time of ensign_close%s%.170s",
                  h->kind->name, why ? ": " : "", why ? why : "");
        ensi_client_end_handle(c, h, ENSIGN_GRPC_CANCELLED, &e, false);
    }
    ensi_client_schedule(c, h);
}

/* Pumps. A duration that the pump gives begins now, as the time is known, and needs no step of its own. */
static void ensi_client_settle(ensign_t *c)
{
    ensi_handle_t *h, *next;
    c->env.timed = true;
    ensi_client_pump(c);
    c->env.stepping = true; /* `wake` is not called for work that is done right here */
    for (h = ensi_handles_due(&c->handles, 0); h; h = next) {
        next = h->due_next;
        ensi_client_tick_handle(c, h);
    }
    c->env.stepping = false;
    if (c->env.work || c->calls.touched.first) ensi_client_pump(c);
    c->env.timed = false;
}

/* When the next timer is due; 0: one was started, and its time begins with the next step. */
static uint64_t ensi_client_due(const ensign_t *c)
{
    uint64_t due = c->handles.timed_count > 0 ? c->handles.timed[0]->due_ms : UINT64_MAX;
    due = ensi_timer_sooner(due, &c->rpc_target.timer);
    due = ensi_timer_sooner(due, &c->auth_target.timer);
    due = ensi_timer_sooner(due, &c->auth.renew);
    due = ensi_timer_sooner(due, &c->auth.expire);
    due = ensi_timer_sooner(due, &c->auth.retry);
    due = ensi_timer_sooner(due, &c->give_up);
    for (int i = 0; i < ENSIGN_MAX_LINKS; i++) due = ensi_timer_sooner(due, &c->links[i].timer);
    for (size_t i = 0; i < ENSI_COUNT(c->conns); i++) {
        const ensi_conn_t *n = &c->conns[i];
        uint64_t ping = n->h2.session ? ensi_ping_due(c, n) : UINT64_MAX;
        due = ensi_timer_sooner(ping < due ? ping : due, &n->drain);
    }
    return due;
}

/* Does the work that calls have left, and no timer's. False: there was no work. */
static ENSI_UNUSED bool ensi_client_work(ensign_t *c, uint64_t now_ms)
{
    if (!c->env.work) return false;
    ensi_client_enter(c, now_ms);
    ensi_client_settle(c);
    return true;
}

/* Would a step do nothing? */
static bool ensi_client_quiet(const ensign_t *c)
{
    return !c->env.work && !c->calls.touched.first && ensi_client_due(c) > c->env.now_ms;
}

int ensign_tick(ensign_t *c, uint64_t now_ms)
{
    ensi_handle_t *h, *next;
    ensi_env_time(&c->env, now_ms);
    if (ensi_client_quiet(c)) return ENSIGN_OK;
    ensi_client_enter(c, now_ms);
    for (int i = 0; i < ENSIGN_MAX_LINKS; i++) ensi_client_tick_link(c, &c->links[i]);
    for (size_t i = 0; i < ENSI_COUNT(c->conns); i++) {
        ensi_conn_t *n = &c->conns[i];
        if (ensi_timer_due(&n->drain, c->env.now_ms))
            ensi_client_cut(c, n, "; its calls have not ended within drain_timeout_ms");
        if (ensi_ping_tick(c, n)) ensi_client_stop_link(c, n->link);
    }
    (void)ensi_timer_due(&c->rpc_target.timer, c->env.now_ms);
    (void)ensi_timer_due(&c->auth_target.timer, c->env.now_ms);
    ensi_auth_tick(&c->auth);
    for (h = ensi_handles_due(&c->handles, c->env.now_ms); h; h = next) {
        next = h->due_next;
        ensi_client_tick_handle(c, h);
    }
    if (ensi_timer_due(&c->give_up, c->env.now_ms)) ensi_client_give_up(c);
    ensi_client_settle(c);
    return ENSIGN_OK;
}

/* Milliseconds to the next timer; 0: there is work; -1: none runs. Pending notices do not count. */
static int ensi_client_timer(const ensign_t *c, uint64_t now_ms)
{
    uint64_t due = c->env.work ? 0 : ensi_client_due(c);
    if (now_ms < c->env.now_ms) now_ms = c->env.now_ms;
    if (due == UINT64_MAX) return -1;
    if (due <= now_ms) return 0;
    return due - now_ms > INT32_MAX ? INT32_MAX : (int)(due - now_ms);
}

int ensign_timeout(const ensign_t *c, uint64_t now_ms)
{
    if (ensign_pending(c, 0)) return 0;
#ifndef ENSIGN_NO_SOCKETS
    return ensi_sock_timer(&c->sockets, now_ms, ensi_client_timer(c, now_ms), true);
#else
    return ensi_client_timer(c, now_ms);
#endif
}

/* ---- the loop without sockets */

static ensi_link_t *ensi_client_link(ensign_t *c, int link)
{
    if (link >= 0 && link < ENSIGN_MAX_LINKS) return &c->links[link];
    ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT, "link: %d does not exist; use 0 to %d", link,
                  ENSIGN_MAX_LINKS - 1);
    return NULL;
}

/* The link that is answered. NULL: none (*rc says so), or the answer is to an old attempt and passed over. */
static ensi_link_t *ensi_client_answered(ensign_t *c, int link, uint32_t attempt, int *rc)
{
    ensi_link_t *l = ensi_client_link(c, link);
    *rc = l ? ENSIGN_OK : ENSIGN_E_ARGUMENT;
    return l && l->attempt == attempt ? l : NULL;
}

/* Does this attempt of the link run? */
static ENSI_UNUSED bool ensi_client_runs(const ensign_t *c, int link, uint32_t attempt)
{
    return c->links[link].state == ENSI_LINK_RUN && c->links[link].attempt == attempt;
}

/* Has the link nothing to do? */
static ENSI_UNUSED bool ensi_client_idle(const ensign_t *c, int link)
{
    return c->links[link].state == ENSI_LINK_IDLE;
}

void ensign_link(const ensign_t *c, int link, ensign_link_t *out)
{
    static const ensign_link_do_t todo[ENSI_LINK_STATES] = {
        ENSIGN_LINK_IDLE, ENSIGN_LINK_RESOLVE, ENSIGN_LINK_DIAL, ENSIGN_LINK_RUN, ENSIGN_LINK_HANGUP
    };
    const ensi_link_t *l;
    memset(out, 0, sizeof *out);
    if (link < 0 || link >= ENSIGN_MAX_LINKS) return;
    l = &c->links[link];
    out->todo = todo[l->state];
    out->attempt = l->attempt;
    if (l->end) {
        const ensi_host_t *h = ensi_link_host(l);
        out->host = h->name;
        out->port = h->port;
    }
    if (ensi_link_wants_tls(l)) {
        out->server_name = ensi_link_server_name(l);
        out->alpn = l == c->auth.link ? "http/1.1" : "h2";
    }
    out->addresses = l->addresses;
    out->address_count = l->state == ENSI_LINK_DIAL ? l->address_count : 0;
}

int ensign_link_info(const ensign_t *c, int link, ensign_link_info_t *out)
{
    const ensi_link_t *l = link >= 0 && link < ENSIGN_MAX_LINKS ? &c->links[link] : NULL;
    memset(out, 0, sizeof *out);
    out->ping_ms = -1;
    if (!l) return ENSIGN_E_ARGUMENT;
    if (l->state != ENSI_LINK_RUN) return ENSIGN_E_STATE;
    ensi_link_tell(l, out);
    for (size_t i = 0; i < ENSI_COUNT(c->conns); i++)
        if (c->conns[i].link == l) out->ping_ms = ensi_ping_trip(&c->conns[i]);
    return ENSIGN_OK;
}

enum { ENSI_CODE_BYTES = 40 };          /* of a native code in an error's text */

/* Returns a native code in brackets, for the end of a reason; "" for 0, which tells nothing. */
static const char *ensi_client_code(char *out, size_t cap, const char *what, int native)
{
    if (native == 0) return "";
    ensi_fmt(out, cap, " (%s%d)", what, native);
    return out;
}

int ensign_resolved(ensign_t *c, int link, uint32_t attempt, const char *const *addresses, size_t count,
                    int native)
{
    const char *good[4 * ENSIGN_MAX_ADDRESSES]; /* more than are kept: both families shall be among those */
    char code[ENSI_CODE_BYTES];
    size_t found = 0;
    int rc;
    ensi_link_t *l = ensi_client_answered(c, link, attempt, &rc);
    if (!l || l->state != ENSI_LINK_RESOLVE) return rc;
    for (size_t i = 0; i < count; i++)
        if (ensign_str(addresses[i]).len > 0 && ensign_str(addresses[i]).len < ENSI_NUMERIC_BYTES)
            if (found < ENSI_COUNT(good)) good[found++] = addresses[i];
    ensi_target_set_addresses(l->target, good, found);
    if (l->target->address_count > 0) {
        ensi_link_dial(l);
    } else {
        ensi_link_fault(l, ENSIGN_E_RESOLVE, native,
                        "%s: the host name %.100s has no address%s; is it spelled right?", l->target->name,
                        ensi_link_host(l)->name,
                        ensi_client_code(code, sizeof code, "resolver's code ", native));
        ensi_link_down(l);
        ensi_client_went_down(c, l);
    }
    ensi_client_pump(c);
    return ENSIGN_OK;
}

static void ensi_client_receive(ensign_t *c, ensi_link_t *l)
{
    ensi_conn_t *n = ensi_client_conn(c, l);
    if (l->state != ENSI_LINK_RUN) return;
    if (n) ensi_client_receive_rpc(c, n);
    else ensi_auth_receive(&c->auth);
}

int ensign_link_up(ensign_t *c, int link, uint32_t attempt, size_t address, uint64_t now_ms)
{
    int rc;
    ensi_link_t *l = ensi_client_answered(c, link, attempt, &rc);
    if (!l || l->state != ENSI_LINK_DIAL) return rc;
    ensi_client_enter(c, now_ms);
    ensi_link_up(l, address);
    ensi_client_receive(c, l);
    ensi_client_pump(c);
    return ENSIGN_OK;
}

/* Says what to do when no descriptor is left; else returns `advice`. */
static const char *ensi_client_scarce(int native, const char *advice)
{
#if defined(EMFILE) && defined(ENFILE)
    if (native == EMFILE || native == ENFILE)
        return "close files, or raise the limit of open ones (ulimit -n)";
#endif
    (void)native;
    return advice;
}

/* Says what to do about a connection that could not be made. */
static const char *ensi_client_dial_advice(const ensi_link_t *l, int native)
{
    const char *advice = l->end->host.port ? "is the server there, and the port right?"
                                           : "does the server listen there?";
    if (l->end->proxy) advice = "is proxy (HTTPS_PROXY) right? no_proxy (NO_PROXY) lists what needs none";
    return ensi_client_scarce(native, advice);
}

/* Says what may be wrong when a server closes a connection at once; what is wrong most often comes first. */
static const char *ensi_client_closed_advice(const ensign_t *c, const ensi_link_t *l)
{
    if (!l->shaken && l == c->auth.link)
        return ", in the TLS handshake; does it speak TLS (else http:// in auth_url), or want a certificate?";
    if (!l->shaken)
        return ", in the TLS handshake; does it speak TLS (else tls.off, ENSIGN_INSECURE), or want a "
               "certificate (tls.cert_file)?";
    if (l->heard || l->end->tls || !l->trying || l == c->auth.link) return "";
    if (l->end->secure) return ", before it said a word; has your TLS agreed on h2 with it, by ALPN?";
    return ", before it said a word; does it want TLS (unset tls.off), or is this another service's port?";
}

static const char *ensi_client_native(int native)
{
    return native ? strerror(native) : "closed by the peer";
}

/* The first reason stands; else what the caller says. */
static void ensi_client_down_reason(const ensign_t *c, ensi_link_t *l, int native)
{
    const ensi_target_t *t = l->target;
    const ensi_host_t *h = l->end ? ensi_link_host(l) : NULL;
    char code[ENSI_CODE_BYTES];
    if (ENSI_HAS_PROXY && l->tunnel && l->state == ENSI_LINK_RUN) {
        (void)ensi_http1_end(&l->tunnel->answer);
        (void)ensi_link_refused(l);
        return;
    }
    if (ensi_link_is_external(l) && native >= ENSIGN_E_ALPN && native <= ENSIGN_E_TLS) {
        ensi_link_fault(l, native, 0, "tls: your own TLS (tls.external) with %s has failed: %s",
                        ensi_link_where(l), ensign_result_text(native));
        return;
    }
    switch (l->state) {
    case ENSI_LINK_RESOLVE:
        ensi_link_fault(l, ENSIGN_E_RESOLVE, native, "%s: the host name %.100s was not resolved: %s%s; %s",
                        t->name, h->name, native ? strerror(native) : "no reason was given",
                        ensi_client_code(code, sizeof code, "", native),
                        ensi_client_scarce(native, "is the name right, and does the resolver answer?"));
        break;
    case ENSI_LINK_DIAL:
        ensi_link_fault(l, ENSIGN_E_CONNECT, native,
                        "%s: cannot connect to %s%s: %s%s; %s", t->name, l->end->proxy ? "the proxy " : "",
                        h->where, ensi_client_native(native), ensi_client_code(code, sizeof code, "", native),
                        ensi_client_dial_advice(l, native));
        break;
    case ENSI_LINK_RUN:
        ensi_link_fault(l, ENSIGN_E_CLOSED, native, "%s: the connection to %s is gone: %s%s%s", t->name,
                        ensi_link_where(l), ensi_client_native(native),
                        ensi_client_code(code, sizeof code, "", native), ensi_client_closed_advice(c, l));
        break;
    case ENSI_LINK_IDLE:
    case ENSI_LINK_HANGUP:
    case ENSI_LINK_STATES: break;
    }
}

int ensign_link_down(ensign_t *c, int link, uint32_t attempt, int native, uint64_t now_ms)
{
    int rc;
    ensi_conn_t *n;
    ensi_link_t *l = ensi_client_answered(c, link, attempt, &rc);
    if (!l || l->state == ENSI_LINK_IDLE) return rc;
    ensi_client_enter(c, now_ms);
    if (l == c->auth.link && native == 0) ensi_auth_closed(&c->auth);
    ensi_client_down_reason(c, l, native);
    if ((n = ensi_client_conn(c, l)) != NULL) ensi_client_mark_orderly(c, n);
    ensi_link_down(l);
    ensi_client_went_down(c, l);
    ensi_client_pump(c);
    return ENSIGN_OK;
}

uint8_t *ensign_rx_buf(ensign_t *c, int link, size_t *cap)
{
    ensi_link_t *l = ensi_client_link(c, link);
    *cap = 0;
    if (!l || l->state != ENSI_LINK_RUN) return NULL;
    *cap = l->rx.cap - l->rx.end;
    return l->rx.ptr + l->rx.end;
}

int ensign_rx_ack(ensign_t *c, int link, size_t len, uint64_t now_ms)
{
    ensi_link_t *l = ensi_client_link(c, link);
    if (!l) return ENSIGN_E_ARGUMENT;
    if (l->state != ENSI_LINK_RUN) return ENSIGN_OK;
    if (len > l->rx.cap - l->rx.end)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT, "rx_ack: %lu bytes, ensign_rx_buf gave room for %lu",
                             (unsigned long)len, (unsigned long)(l->rx.cap - l->rx.end));
    ensi_client_enter(c, now_ms);
    l->rx.end += len;
    c->env.stats.bytes_in += len;
    ensi_client_receive(c, l);
    ensi_client_settle(c);
    return ENSIGN_OK;
}

const uint8_t *ensign_tx_buf(ensign_t *c, int link, size_t *len)
{
    ensi_link_t *l = ensi_client_link(c, link);
    *len = 0;
    if (!l || (l->state != ENSI_LINK_RUN && l->state != ENSI_LINK_HANGUP) || l->tx.end == l->tx.start)
        return NULL;
    *len = l->tx.end - l->tx.start;
    return l->tx.ptr + l->tx.start;
}

/* Does anything wait for room in tx? A request of auth may, TLS, or frames that did not fit. */
static bool ensi_client_wants_room(ensign_t *c, const ensi_link_t *l)
{
    const ensi_conn_t *n = ensi_client_conn(c, l);
    return !n || !l->shaken || l->end->tls || c->env.work || n->h2.held_up;
}

int ensign_tx_ack(ensign_t *c, int link, size_t len)
{
    ensi_link_t *l = ensi_client_link(c, link);
    if (!l) return ENSIGN_E_ARGUMENT;
    if (len > l->tx.end - l->tx.start)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT, "tx_ack: %lu bytes, only %lu were waiting",
                             (unsigned long)len, (unsigned long)(l->tx.end - l->tx.start));
    l->tx.start += len;
    c->env.stats.bytes_out += len;
    if (l->state == ENSI_LINK_RUN && l->tx.start == l->tx.end && ensi_client_wants_room(c, l)) {
        ensi_client_receive(c, l);
        ensi_client_pump(c);
    }
    return ENSIGN_OK;
}

/* ---- notices */

static void ensi_client_reap(ensign_t *c)
{
    if (c->handles.dying) ensi_client_free_handle(c, c->handles.dying);
}

/* The words of a server go out without the client's secrets. All errors of notices are ours to change. */
static ensign_notice_t *ensi_client_give(const ensign_t *c, ensign_notice_t *n)
{
    if (n && n->error) ensi_env_hide_error(&c->env, (ensign_error_t *)(uintptr_t)n->error);
    return n;
}

static inline ensign_notice_t *ensi_client_pull(ensign_t *c, ensi_handle_t *h)
{
    ensign_notice_t *n = ensi_client_give(c, h->kind->pull(c, h));
    bool more = !h->ended && h->kind->has(h);
    if (h->ended) c->handles.dying = h;
    if (more && h->ready && !h->after) return n; /* it is the last already */
    ensi_ready_remove(&c->handles, h);
    if (more) ensi_ready_append(&c->handles, h); /* behind the others: round-robin */
    return n;
}

const ensign_notice_t *ensign_next(ensign_t *c)
{
    ensi_client_reap(c);
    while (c->handles.ready_head) {
        const ensign_notice_t *n = ensi_client_pull(c, c->handles.ready_head);
        if (n) return n;
    }
    if (c->self.held) return NULL;
    return ensi_client_give(c, ensi_self_pull(c, &c->self)); /* FAILED and CLOSED, behind all others */
}

/* A handle by its id, ENSIGN_CLIENT included; NULL with E_HANDLE. */
static ensi_handle_t *ensi_client_any(ensign_t *c, uint32_t id, int *rc)
{
    ensi_handle_t *h = id == ENSIGN_CLIENT ? &c->self : ensi_handle_find(&c->handles, id);
    *rc = h ? ENSIGN_OK : ensi_state_dead(c, id, "handle");
    return h;
}

const ensign_notice_t *ensign_next_of(ensign_t *c, uint32_t handle)
{
    ensi_handle_t *h;
    int rc;
    ensi_client_reap(c);
    h = ensi_client_any(c, handle, &rc);
    if (!h || (h != &c->self && !h->kind->has(h))) return NULL;
    return ensi_client_pull(c, h);
}

bool ensign_pending(const ensign_t *c, uint32_t handle)
{
    ensi_handle_t *h;
    if (handle == 0) return c->handles.ready_head != NULL || (!c->self.held && c->self.bits != 0);
    if (handle == ENSIGN_CLIENT) return c->self.bits != 0;
    h = ensi_handle_find(&c->handles, handle);
    return h && h->kind->has(h);
}

int ensign_hold(ensign_t *c, uint32_t handle, bool on)
{
    int rc;
    ensi_handle_t *h = ensi_client_any(c, handle, &rc);
    if (!h) return rc;
    h->held = on;
    if (on) ensi_ready_remove(&c->handles, h);
    else ensi_state_ready(c, h, h->kind->has(h));
    return ENSIGN_OK;
}

bool ensign_open_next(const ensign_t *c, uint32_t handle, int which, size_t *at, ensign_slice_t *name,
                      ensign_ulid_t *id)
{
    const ensi_handle_t *h = ensi_handle_find(&c->handles, handle);
    if (!h || !h->kind->open_next || h->notice.type != ENSIGN_NOTICE_OPEN) return false;
    if (which != ENSIGN_OPEN_TOPICS && which != ENSIGN_OPEN_MISSING) return false;
    return h->kind->open_next(h, which, at, name, id);
}

const char *ensign_notice_name(ensign_notice_type_t type)
{
    switch (type) {
#define ENSI_NAME(x) case ENSIGN_NOTICE_##x: return "ENSIGN_NOTICE_" #x;
    ENSI_NAME(CONNECTED)   ENSI_NAME(DISCONNECTED) ENSI_NAME(GOAWAY)      ENSI_NAME(FAILED)
    ENSI_NAME(CLOSED)
    ENSI_NAME(WAITING)     ENSI_NAME(OPEN)         ENSI_NAME(ROOM)        ENSI_NAME(ACK)
    ENSI_NAME(NACK)        ENSI_NAME(DRAINED)      ENSI_NAME(EVENT)       ENSI_NAME(GAP)
    ENSI_NAME(TOPIC)       ENSI_NAME(TOPIC_STATE)  ENSI_NAME(EXISTS)      ENSI_NAME(PROJECT)
    ENSI_NAME(TOPIC_INFO)  ENSI_NAME(TYPE_INFO)    ENSI_NAME(PLAN)        ENSI_NAME(STATUS)
    ENSI_NAME(HEALTH)      ENSI_NAME(REPLY)        ENSI_NAME(HEADERS)     ENSI_NAME(MESSAGE)
    ENSI_NAME(END)
#undef ENSI_NAME
    }
    return "?";
}

/* ---- close, cancel, forget */

/* A handle that can be ended. NULL: *rc is E_HANDLE, or OK where its last notice waits already. */
static ensi_handle_t *ensi_client_ending(ensign_t *c, uint32_t id, int *rc)
{
    ensi_handle_t *h = ensi_handle_find(&c->handles, id);
    *rc = ENSIGN_OK;
    if (h && !h->ended) return h->done ? NULL : h;
    *rc = ensi_state_dead(c, id, "handle");
    return NULL;
}

static void ensi_client_close_handle(ensign_t *c, ensi_handle_t *h, uint32_t timeout_ms)
{
    bool first = !h->closing;
    if (h->done) return;
    if (first) ensi_state_log(c, h, "closing", "");
    h->closing = true;
    ensi_timer_start(&h->close_timer, timeout_ms);
    if (first) h->kind->close(c, h);
    ensi_client_schedule(c, h);
}

int ensign_close(ensign_t *c, uint32_t handle, uint32_t timeout_ms)
{
    int rc = ENSIGN_OK;
    ensi_handle_t *h = handle == ENSIGN_CLIENT ? c->handles.oldest : ensi_client_ending(c, handle, &rc);
    if (handle == ENSIGN_CLIENT) {
        if (!c->closing) ENSI_LOG((&c->env, ENSIGN_LOG_DEBUG, "client: closing"));
        c->closing = true;
    }
    for (; h; h = handle == ENSIGN_CLIENT ? h->newer : NULL) ensi_client_close_handle(c, h, timeout_ms);
    ensi_env_work(&c->env);
    return rc;
}

int ensign_cancel(ensign_t *c, uint32_t handle)
{
    ensign_error_t e;
    int rc = ENSIGN_OK;
    ensi_handle_t *h = handle == ENSIGN_CLIENT ? c->handles.oldest : ensi_client_ending(c, handle, &rc);
    if (handle == ENSIGN_CLIENT) c->closing = true;
    for (; h; h = handle == ENSIGN_CLIENT ? h->newer : NULL) {
        ensi_fail(&e, ENSIGN_E_CANCELLED, 0, "%s: cancelled by this program", h->kind->name);
        ensi_client_end_handle(c, h, ENSIGN_GRPC_CANCELLED, &e, true);
    }
    ensi_env_work(&c->env);
    return rc;
}

int ensign_forget(ensign_t *c, uint32_t handle)
{
    ensi_handle_t *h = ensi_handle_find(&c->handles, handle);
    if (handle == ENSIGN_CLIENT) {
        while (c->handles.oldest) ensi_client_free_handle(c, c->handles.oldest);
        c->closing = c->closed = true;
        c->self.bits = 0;
        ensi_ready_remove(&c->handles, &c->self);
        ensi_client_hang_up(c);
    } else if (h) {
        ensi_state_log(c, h, "forgotten", "");
        ensi_client_free_handle(c, h);
    }
    ensi_env_work(&c->env); /* its RST_STREAM */
    return ENSIGN_OK;
}

int ensign_stats(const ensign_t *c, uint32_t handle, ensign_stats_t *out)
{
    const ensi_handle_t *h;
    if (handle != ENSIGN_CLIENT) {
        h = ensi_handle_find(&c->handles, handle);
        if (!h) return ENSIGN_E_HANDLE;
        *out = h->stats;
        return ENSIGN_OK;
    }
    *out = c->env.stats;
    out->memory = c->env.mem.used;
    out->allocations = c->env.mem.calls;
    for (h = c->handles.oldest; h; h = h->newer) out->in_flight += h->stats.in_flight;
    return ENSIGN_OK;
}

const ensign_error_t *ensign_error(const ensign_t *c)
{
    ensi_env_t *v = &((ensign_t *)(uintptr_t)c)->env; /* the text is made here, where it is asked for */
    if (v->error.code > 0 && v->error.text[0] == '\0')
        ensi_fail(&v->error, v->error.code, 0, "%s", v->later ? v->later : ensign_result_text(v->error.code));
    ensi_env_hide_error(v, &v->error);
    return &v->error;
}

int ensign_fail(ensign_t *c, int code, int native, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ensi_fail_v(&c->env.error, code, native, format, args);
    va_end(args);
    c->env.opening = code < 0 ? ENSI_OPENING_FAILED : ENSI_OPENING_NO;
    return code;
}

/* ---- what section sockets asks */
#ifndef ENSIGN_NO_SOCKETS
/* Why a handle has ended, while its END waits to be pulled; NULL: it has not, or well. */
static ENSI_UNUSED const ensign_error_t *ensi_client_fault(const ensign_t *c, uint32_t handle)
{
    const ensi_handle_t *h = ensi_handle_find(&c->handles, handle);
    return h && (h->bits & ENSI_BIT_END) && h->fault.code ? &h->fault : NULL;
}

/* Returns the milliseconds that the link's attempt has left; ENSIGN_FOREVER when it has no limit. */
static uint32_t ensi_client_left(const ensign_t *c, int link)
{
    return ensi_timer_left(&c->links[link].timer, c->env.now_ms);
}

/* Can a notice of this handle still come? */
static int ensi_client_expects(ensign_t *c, uint32_t handle)
{
    const ensi_handle_t *h = ensi_handle_find(&c->handles, handle);
    if (handle == ENSIGN_CLIENT || (h && !h->ended)) return ENSIGN_OK;
    return ensi_state_dead(c, handle, "handle");
}

/* The time of a wait is up: the last fault of the handle, or of the connection, tells why nothing came. */
static int ensi_client_timed_out(ensign_t *c, uint32_t handle)
{
    char room[200];
    ensi_handle_t *h = ensi_handle_find(&c->handles, handle);
    const ensign_error_t *why = ensi_state_fault(c);
    const char *text = NULL;
    if (h) text = ensi_state_reason(c, h, room, sizeof room);
    else if (ensi_client_demand(c)) text = ensi_state_unconnected(c->conn, room, sizeof room);
    if (h && h->fault.code) why = &h->fault;
    else if (h && !ensi_state_needs_token(c, h->call)) why = ensi_state_link_fault(c);
    if (why)
        ensi_env_copy(&c->env, why);
    else if (text)
        ensi_env_fail(&c->env, ENSIGN_TIMEOUT, "client: the time was up: %.200s", text);
    else
        ensi_env_fail(&c->env, ENSIGN_TIMEOUT,
                      "client: the time was up; nothing fails, and nothing has come");
    return ENSIGN_TIMEOUT;
}
#endif

/* >>create   may call: all
 * Making a client: its desc checked and copied, the environment, the credentials file, bounds
 *
 * Owns   the copies of the desc's strings.
 * Holds  ensign_create does no I/O; what is wrong in a desc is told with the field's name, what was seen, and
 *        what is allowed. A half-made client is freed by ensign_destroy.
 * Fails  nothing is left behind; secrets that were copied are wiped. */
enum {
    ENSI_CREATE_HANDLES = 64,
    ENSI_CREATE_HANDLES_MAX = 65000,
    ENSI_CREATE_AUTHORITY_MAX = 255,
    ENSI_CREATE_NAME_MAX = 512,
    ENSI_CREATE_AGENT_MAX = 100,
    ENSI_CREATE_ENDPOINTS = 64,         /* of one list */
    ENSI_CREATE_UNIX_MAX = 107,         /* bytes of a path: sun_path has 108, and a NUL */
    ENSI_CREATE_METHODS_MAX = 1000,
    ENSI_CREATE_CACHE = 256
};

static int64_t ensi_create_wall(void *user)
{
    (void)user;
#if !defined(ENSIGN_NO_SOCKETS) && !defined(_WIN32)
    {
        struct timespec t;
#ifdef CLOCK_REALTIME_COARSE /* Linux: a seventh of the time, and right to some milliseconds */
        const clockid_t clock = CLOCK_REALTIME_COARSE;
#else
        const clockid_t clock = CLOCK_REALTIME;
#endif
        if (clock_gettime(clock, &t) == 0) return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
    }
#endif
    return (int64_t)time(NULL) * 1000;
}

/* 1 to 65535, in at most 5 digits. */
static bool ensi_create_port(const char *text, uint16_t *port)
{
    size_t len = strlen(text);
    unsigned long number = 0;
    if (len == 0 || len > 5 || strspn(text, "0123456789") != len) return false;
    number = strtoul(text, NULL, 10);
    *port = (uint16_t)number;
    return number > 0 && number <= 65535;
}

/* What stands before a ']': digits of IPv6 with two colons at least, then perhaps a zone ("%eth0"). */
static bool ensi_create_is_v6(const char *text, size_t len)
{
    size_t digits = strspn(text, "0123456789abcdefABCDEF:."), colons = 0;
    for (size_t i = 0; i < digits; i++) colons += text[i] == ':';
    return colons >= 2 && (digits == len || (text[digits] == '%' && digits + 1 < len));
}

/* Splits "host:port" or "[v6]:port"; the host goes out without brackets. fallback 0: a port must be there. */
static bool ensi_create_split(const char *text, uint16_t fallback, char *host, size_t cap, uint16_t *port)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:%";
    bool v6 = *text == '[';
    const char *end = v6 ? strchr(++text, ']') : strchr(text, ':');
    const char *rest; /* ":port", or nothing */
    size_t len;
    if (v6 && !end) return false;
    if (!end) end = text + strlen(text);
    rest = v6 ? end + 1 : end;
    len = (size_t)(end - text);
    if (len == 0 || len >= cap || strspn(text, letters) < len) return false;
    if (v6 && !ensi_create_is_v6(text, len)) return false; /* brackets are for IPv6 */
    if (*rest != '\0' && *rest != ':') return false;
    if (*rest == '\0' && fallback == 0) return false;
    if (*rest == ':' && !ensi_create_port(rest + 1, port)) return false; /* so is IPv6 without brackets */
    if (*rest == '\0') *port = fallback;
    memcpy(host, text, len);
    host[len] = '\0';
    return true;
}

/* Four numbers, or IPv6: not asked of a resolver. */
static bool ensi_create_is_literal(const char *host)
{
    size_t dots = 0;
    for (const char *p = host; *p; p++) dots += *p == '.';
    return strchr(host, ':') != NULL || (dots == 3 && strspn(host, "0123456789.") == strlen(host));
}

/* 127.0.0.0/8, and ::1 however it is written. */
static bool ensi_create_is_loopback(const char *host)
{
    static const uint8_t self[16] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 };
    uint8_t ip[16];
    size_t len = ensi_ip(host, ip);
    if (len == 0) return strcmp(host, "localhost") == 0;
    if (len == 4) return ip[0] == 127;
    return memcmp(ip, self, sizeof self) == 0;
}

/* Text that goes into a header as it is. A token read from a file likes to end in a newline. */
static int ensi_create_check_text(ensign_t *c, const char *field, const char *text, size_t max)
{
    size_t len = ensign_str(text).len;
    if (!text) return ENSIGN_OK;
    if (len == 0 || len > max)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT, "client: %s has %lu bytes, 1 to %lu are allowed",
                             field, (unsigned long)len, (unsigned long)max);
    for (size_t i = 0; i < len; i++)
        if (text[i] < 0x20 || text[i] > 0x7E)
            return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                                 "client: %s has byte 0x%02x at %lu; only 0x20 to 0x7e go into a header",
                                 field, (unsigned)(uint8_t)text[i], (unsigned long)i);
    if (ensi_slice_has_edge(ensign_str(text)))
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: %s begins or ends with a blank, which no header may; leave it out",
                             field);
    return ENSIGN_OK;
}

/* Undoes %xx in what stands before the @ of a URL. Returns the length; SIZE_MAX: it does not fit, or is
 * malformed. */
static size_t ensi_create_unescape(const char *text, size_t len, char *out, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++, n++) {
        int high = 0, low = 0;
        if (n == cap) return SIZE_MAX;
        out[n] = text[i];
        if (text[i] != '%') continue;
        if (i + 2 < len) high = ensi_hex((uint8_t)text[i + 1]), low = ensi_hex((uint8_t)text[i + 2]);
        if (i + 2 >= len || high < 0 || low < 0) return SIZE_MAX;
        if (high == 0 && low == 0) return SIZE_MAX; /* no header has a NUL */
        out[n] = (char)(high << 4 | low);
        i += 2;
    }
    return n;
}

static int ensi_create_set_host(ensign_t *c, ensi_host_t *h, const char *host, uint16_t port)
{
    h->name = ensi_mem_text(&c->env.mem, host);
    h->port = port;
    if (!h->name) return ensi_env_memory(&c->env, strlen(host));
    h->literal = ensi_create_is_literal(host);
    if (port == 0) ensi_fmt(h->where, sizeof h->where, "%s", host);
    else ensi_fmt(h->where, sizeof h->where, strchr(host, ':') ? "[%.60s]:%u" : "%.70s:%u", host, port);
#ifdef ENSIGN_NO_DNS
    if (!h->literal && c->io == ENSIGN_IO_SOCKETS)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: ENSIGN_NO_DNS is defined, so \"%.80s\" must be an address, or io "
                             "ENSIGN_IO_SOCKETS_NO_DNS",
                             host);
#endif
    return ENSIGN_OK;
}

/* An address as an error shows it: what stands before an '@' may be a password, and is left out. */
static const char *ensi_create_show(const char *text, char *room, size_t cap)
{
    const char *at = strrchr(text, '@'), *name = strstr(text, "://");
    int scheme = name && name < at && name - text < 16 ? (int)(name - text) + 3 : 0;
    if (!at) return text;
    ensi_fmt(room, cap, "%.*s***%s", scheme, text, at);
    return room;
}

/* ---- the list of endpoints */

/* Copies one item of a list with commas, without the blanks around it; one that does not fit gives "".
 * Returns what follows it, or NULL when nothing does. */
static const char *ensi_create_item(const char *list, char *out, size_t cap)
{
    size_t len = strcspn(list, ",");
    ensign_slice_t item = ensi_slice_trim(ensi_slice(list, len));
    out[0] = '\0';
    if (item.len < cap) {
        memcpy(out, item.ptr, item.len);
        out[item.len] = '\0';
    }
    return list[len] ? list + len + 1 : NULL;
}

static size_t ensi_create_count(const char *list)
{
    size_t count = 1;
    for (; *list; list++) count += *list == ',';
    return count;
}

/* Is the address in a network, "10.0.0.0/8"? */
static bool ensi_create_in_network(const char *network, const char *slash, const uint8_t *ip, size_t ip_len)
{
    char name[64];
    uint8_t net[16];
    size_t len = (size_t)(slash - network), digits = strspn(slash + 1, "0123456789");
    unsigned long bits = strtoul(slash + 1, NULL, 10);
    if (len >= sizeof name || digits == 0 || slash[1 + digits] != '\0') return false;
    memcpy(name, network, len);
    name[len] = '\0';
    len = ensi_ip(name, net);
    if (len == 0 || len != ip_len || bits > 8 * len) return false;
    for (unsigned long at = 0; at < bits; at++)
        if (((net[at / 8] ^ ip[at / 8]) >> (7 - at % 8)) & 1) return false;
    return true;
}

/* Is this host the domain, or in it? A dot before the domain does not count, nor does "*.". */
static bool ensi_create_in_domain(const char *domain, const char *host)
{
    size_t len, rest = strlen(host);
    if (strncmp(domain, "*.", 2) == 0) domain++;
    if (*domain == '.') domain++;
    len = strlen(domain);
    if (len > 1 && domain[len - 1] == '.') len--; /* absolute names */
    if (rest > 1 && host[rest - 1] == '.') rest--;
    if (len == 0 || len > rest) return false;
    rest -= len;
    if (rest > 0 && host[rest - 1] != '.') return false;
    for (size_t i = 0; i < len; i++)
        if (ensi_lower((uint8_t)domain[i]) != ensi_lower((uint8_t)host[rest + i])) return false;
    return true;
}

/* Does an entry of no_proxy name this host? */
static bool ensi_create_exempt(const char *entry, const char *host, uint16_t port)
{
    char name[256], plain[256];
    uint8_t listed[16], ip[16];
    const char *slash = strchr(entry, '/');
    uint16_t only = port;
    size_t len, ip_len;
    ensi_fmt(plain, sizeof plain, "%.*s", (int)strcspn(host, "%"), host); /* without the zone */
    ip_len = ensi_ip(plain, ip);
    if (strcmp(entry, "*") == 0) return true;
    if (slash) return ensi_create_in_network(entry, slash, ip, ip_len);
    if (ensi_ip(entry, listed) > 0 || !ensi_create_split(entry, port, name, sizeof name, &only))
        ensi_fmt(name, sizeof name, "%s", entry);
    if (only != port) return false;
    len = ensi_ip(name, listed);
    if (len > 0 || ip_len > 0) return len == ip_len && memcmp(listed, ip, len) == 0;
    return ensi_create_in_domain(name, host);
}

/* Is this host reached through the proxy? */
static bool ensi_create_is_proxied(const ensign_desc_t *d, const char *host, uint16_t port)
{
    const char *list = d->no_proxy ? d->no_proxy : "localhost,127.0.0.0/8,::1";
    char entry[256];
    if (!ENSI_HAS_PROXY || !d->proxy || !*d->proxy || port == 0) return false;
    while (*list) {
        size_t len = strcspn(list, ", \t");
        if (len > 0 && len < sizeof entry) {
            memcpy(entry, list, len);
            entry[len] = '\0';
            if (ensi_create_exempt(entry, host, port)) return false;
        }
        list += len + (list[len] != '\0');
    }
    return true;
}

/* Keeps user and password of a proxy's URL as its header has them. E_FORMAT: they are malformed, or too
 * long. */
static int ensi_create_set_basic(ensign_t *c, const char *text, size_t len)
{
    enum { MOST = 384 };
    char plain[MOST + 1], code[(MOST + 2) / 3 * 4 + 1];
    size_t n = ensi_create_unescape(text, len, plain, sizeof plain - 1), coded = 0;
    int rc = ENSIGN_E_FORMAT;
    if (n != SIZE_MAX)
        rc = ensi_base64_encode((const uint8_t *)plain, n, true, code, sizeof code - 1, &coded);
    code[coded] = '\0';
    if (rc == ENSIGN_OK) {
        const char *colon = (const char *)memchr(plain, ':', n);
        plain[n] = '\0';
        c->proxy.basic = ensi_mem_text(&c->env.mem, code);
        c->proxy.password = ensi_mem_text(&c->env.mem, colon ? colon + 1 : plain); /* a token has no colon */
        if (!c->proxy.basic || !c->proxy.password) rc = ensi_env_memory(&c->env, coded);
        c->env.secrets[ENSI_SECRET_PROXY] = c->proxy.basic;
        c->env.secrets[ENSI_SECRET_PROXY_PASSWORD] = c->proxy.password;
    }
    ensi_wipe(plain, sizeof plain);
    ensi_wipe(code, sizeof code);
    return rc;
}

/* Splits "http://[user[:password]@]host:port"; the scheme may lack. What could be a password is shown
 * nowhere. */
static int ensi_create_set_proxy(ensign_t *c, const ensign_desc_t *d)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.";
    const char *text = d->proxy, *scheme = text + strspn(text, letters), *at;
    char place[300], host[256];
    uint16_t port = 0;
    size_t len;
    int rc = ENSIGN_OK;
    if (c->proxy.host.name) return ENSIGN_OK;
    if (strncmp(scheme, "://", 3) != 0) scheme = NULL; /* "://" in a password starts no scheme */
    if (scheme && strncmp(text, "http://", 7) != 0)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: proxy begins with \"%.*s\"; only http:// proxies can be used: "
                             "change proxy (HTTPS_PROXY), or list the endpoint in no_proxy (NO_PROXY)",
                             (int)ensi_min((size_t)(scheme - text) + 3, 20), text);
    if (scheme) text = scheme + 3;
    at = strrchr(text, '@');
    ensi_fmt(place, sizeof place, "%s", at ? at + 1 : text);
    len = strlen(place);
    if (len > 0 && place[len - 1] == '/') place[len - 1] = '\0';
    if (!ensi_create_split(place, 0, host, sizeof host, &port))
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: proxy (HTTPS_PROXY) is not http://[user:password@]host:port, port 1 to "
                             "65535, without a path; it is not shown, for it may hold a password");
    if (at) rc = ensi_create_set_basic(c, text, (size_t)(at - text));
    if (rc == ENSIGN_E_FORMAT)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: what stands before the @ of proxy ...@%.80s is over 384 bytes, or has "
                             "a %% that two hexadecimal digits do not follow (%%40 stands for a @)", place);
    c->proxy.user_agent = c->user_agent;
    return rc == ENSIGN_OK ? ensi_create_set_host(c, &c->proxy.host, host, port) : rc;
}

/* Adds an endpoint to its target. `secret`: what would go over it in plaintext; NULL: nothing. */
static int ensi_create_add(ensign_t *c, const ensign_desc_t *d, ensi_target_t *t, const char *host,
                           uint16_t port, bool secure, const char *secret)
{
    ensi_endpoint_t *e = &t->endpoints[t->endpoint_count++];
    bool proxied = ensi_create_is_proxied(d, host, port);
    bool external = t == &c->auth_target ? d->auth_tls.external : d->tls.external;
    bool here = !proxied && (port == 0 || ensi_create_is_loopback(host));
    char text[300];
    int rc;
    ensi_fmt(text, sizeof text, port == 0 ? "%s" : strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
    if (secret && !secure && !d->allow_plaintext_token && !here)
        return ensi_env_fail(
            &c->env, ENSIGN_E_ARGUMENT,
            "client: %s would go in plaintext to %.100s%s; %s, or set allow_plaintext_token", secret, text,
            proxied ? " through the proxy; list it in no_proxy (NO_PROXY)" : "",
            t == &c->auth_target ? "use https://" : "leave tls on");
    e->secure = secure;
    e->tls = secure && !external;
    e->text = ensi_mem_text(&c->env.mem, text);
    if (!e->text) return ensi_env_memory(&c->env, strlen(text));
    rc = ensi_create_set_host(c, &e->host, host, port);
    if (ENSI_HAS_PROXY && rc == ENSIGN_OK && proxied) {
        rc = ensi_create_set_proxy(c, d);
        e->proxy = &c->proxy;
    }
    return rc;
}

/* Takes room for the endpoints of all lists. */
static int ensi_create_room(ensign_t *c, ensi_target_t *t, const char *field, const char *const *lists,
                            size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (!lists[i])
            return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                                 "client: endpoints[%u] is NULL; give \"host:port\"", (unsigned)i);
        n += ensi_create_count(lists[i]);
    }
    if (!ensi_state_size(c, "client", field, n, 1, ENSI_CREATE_ENDPOINTS)) return ENSIGN_E_ARGUMENT;
    t->endpoints = (ensi_endpoint_t *)ensi_mem_zero(&c->env.mem, n * sizeof *t->endpoints);
    return t->endpoints ? ENSIGN_OK : ensi_env_memory(&c->env, n * sizeof *t->endpoints);
}

/* "unix:/path". A sockaddr_un has room for 107 bytes and a NUL. */
static int ensi_create_add_unix(ensign_t *c, const ensign_desc_t *d, const char *text)
{
    size_t len = strlen(text) - 5;
#ifdef _WIN32
    if (d->io != ENSIGN_IO_CALLER)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT, "client: endpoint \"%.100s\": unix sockets are not "
                             "made on Windows; use host:port", text);
#endif
    if (len == 0 || len > ENSI_CREATE_UNIX_MAX)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: the path of endpoint \"%.60s\" has %lu bytes, 1 to %d are allowed",
                             text, (unsigned long)len, ENSI_CREATE_UNIX_MAX);
    return ensi_create_add(c, d, &c->rpc_target, text, 0, !d->tls.off, NULL);
}

/* One item of `endpoint` or `endpoints`. */
static int ensi_create_add_endpoint(ensign_t *c, const ensign_desc_t *d, const char *text)
{
    char host[256], room[120];
    uint16_t port;
    if (strncmp(text, "unix:", 5) == 0) return ensi_create_add_unix(c, d, text);
    if (!ensi_create_split(text, 0, host, sizeof host, &port))
        return ensi_env_fail(
            &c->env, ENSIGN_E_ARGUMENT,
            "client: endpoint \"%.80s\" is not host:port, port 1 to 65535, without a scheme or a path "
            "(IPv6: [::1]:443), nor unix:/path",
            ensi_create_show(text, room, sizeof room));
    return ensi_create_add(c, d, &c->rpc_target, host, port, !d->tls.off,
                           d->client_id || d->token ? "a token" : NULL);
}

/* Shuffles the endpoints (Fisher and Yates). */
static void ensi_create_shuffle(ensign_t *c, ensi_target_t *t)
{
    for (size_t i = t->endpoint_count; i > 1; i--) {
        size_t k = (size_t)(ensi_rng_next(&c->env.rng) % i);
        ensi_endpoint_t e = t->endpoints[i - 1];
        t->endpoints[i - 1] = t->endpoints[k];
        t->endpoints[k] = e;
    }
}

static int ensi_create_set_endpoints(ensign_t *c, const ensign_desc_t *d)
{
    const char *one = d->endpoint;
    const char *const *lists = &one;
    size_t count = 1;
    char item[256];
    int rc;
    if (!one && d->client_id) one = "ensign.rotational.app:443";
    if (d->endpoint_count > 0) lists = d->endpoints, count = d->endpoint_count;
    if (d->endpoint && d->endpoints)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: endpoint and endpoints are both set; give one of them");
    if ((d->endpoint_count > 0) != (d->endpoints != NULL))
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: endpoint_count is %lu and endpoints is %s; give both or neither",
                             (unsigned long)d->endpoint_count, d->endpoints ? "set" : "NULL");
    if (!lists[0])
        return ensi_env_fail(
            &c->env, ENSIGN_E_ARGUMENT,
            "client: endpoint is missing; give \"host:port\", or a client_id for the hosted service");
    rc = ensi_create_room(c, &c->rpc_target, "the number of endpoints", lists, count);
    for (size_t i = 0; i < count; i++) {
        const char *list = lists[i];
        while (rc == ENSIGN_OK && list) {
            list = ensi_create_item(list, item, sizeof item);
            rc = ensi_create_add_endpoint(c, d, item);
        }
    }
    if (rc == ENSIGN_OK && d->shuffle_endpoints) ensi_create_shuffle(c, &c->rpc_target);
    c->common.scheme = d->tls.off ? "http" : "https";
    return rc;
}

/* One URL of auth_url. */
static int ensi_create_add_url(ensign_t *c, const ensign_desc_t *d, const char *url)
{
    char rest[300], host[256], room[120];
    bool secure = strncmp(url, "https://", 8) == 0;
    size_t len;
    uint16_t port;
    if (!secure && strncmp(url, "http://", 7) != 0)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: auth_url \"%.100s\" begins neither with https:// nor with http://",
                             ensi_create_show(url, room, sizeof room));
    ensi_fmt(rest, sizeof rest, "%s", url + (secure ? 8 : 7));
    len = strlen(rest);
    if (len > 0 && rest[len - 1] == '/') rest[len - 1] = '\0';
    if (strchr(rest, '/') || !ensi_create_split(rest, secure ? 443 : 80, host, sizeof host, &port))
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: auth_url \"%.100s\" is not scheme://host[:port] without a path",
                             ensi_create_show(url, room, sizeof room));
    return ensi_create_add(c, d, &c->auth_target, host, port, secure, d->client_id ? "the key" : NULL);
}

static int ensi_create_set_auth_url(ensign_t *c, const ensign_desc_t *d)
{
    const char *list = d->auth_url ? d->auth_url : "https://auth.rotational.app";
    char url[300];
    int rc = ensi_create_room(c, &c->auth_target, "the number of URLs in auth_url", &list, 1);
    while (rc == ENSIGN_OK && list) {
        list = ensi_create_item(list, url, sizeof url);
        rc = ensi_create_add_url(c, d, url);
    }
    return rc;
}

static char *ensi_create_copy(ensign_t *c, int which, const char *text, bool *failed)
{
    if (!text) return NULL;
    c->strings[which] = ensi_mem_text(&c->env.mem, text);
    if (!c->strings[which]) *failed = true;
    return c->strings[which];
}

#ifndef ENSIGN_NO_TLS
/* Copies PEM that may be given from memory. */
static ensign_slice_t ensi_create_copy_pem(ensign_t *c, int which, ensign_slice_t pem, bool *failed)
{
    char *copy;
    if (!pem.ptr) return ensi_slice(NULL, 0);
    copy = c->strings[which] = (char *)ensi_mem_take(&c->env.mem, pem.len + 1);
    if (!copy) *failed = true;
    if (copy && pem.len) memcpy(copy, pem.ptr, pem.len);
    return ensi_slice(copy, pem.len);
}

/* A certificate needs a key, and each comes from one place. `which`: "tls" or "auth_tls". */
static int ensi_create_check_own(ensign_t *c, const char *which, const ensign_tls_desc_t *d)
{
    bool cert = d->cert_file || d->cert_pem.ptr, key = d->key_file || d->key_pem.ptr;
    if ((d->cert_file && d->cert_pem.ptr) || (d->key_file && d->key_pem.ptr))
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: %s.%s_file and %s_pem are both set; give one of them", which,
                             d->cert_file && d->cert_pem.ptr ? "cert" : "key",
                             d->cert_file && d->cert_pem.ptr ? "cert" : "key");
    if (cert && !key)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: %s.%s is set without a key; set %s.key_file or key_pem, too", which,
                             d->cert_file ? "cert_file" : "cert_pem", which);
    if (key && !cert)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: %s.%s is set without a certificate; set %s.cert_file or cert_pem, too",
                             which, d->key_file ? "key_file" : "key_pem", which);
    if (d->key_password && !key)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: %s.key_password is set without a key; set %s.key_file or key_pem, or "
                             "leave it out", which, which);
    return ENSIGN_OK;
}

/* What this build of mbedTLS lacks is refused here. */
static int ensi_create_check_tls(ensign_t *c, const char *which, const ensign_tls_desc_t *d)
{
    int min = d->min_version;
    if (min != 0 && min != ENSIGN_TLS_1_2 && min != ENSIGN_TLS_1_3)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: %s.min_version is %d; use ENSIGN_TLS_1_2 or ENSIGN_TLS_1_3", which,
                             min);
    if (min == ENSIGN_TLS_1_3 && !ENSI_TLS_HAS_1_3)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: %s.min_version is TLS 1.3, which this mbedTLS (" MBEDTLS_VERSION_STRING
                             ") lacks; build with mbedTLS 3.6, or set ENSIGN_TLS_1_2", which);
    if (d->key_log && !ENSI_TLS_HAS_KEY_LOG)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: %s.key_log is set, and this mbedTLS gives out no secrets; build it "
                             "with MBEDTLS_SSL_EXPORT_KEYS, or leave key_log out", which);
    return ensi_create_check_own(c, which, d);
}

static void ensi_create_copy_tls(ensign_t *c, int i, const ensign_tls_desc_t *from, ensi_target_t *t,
                                 bool *failed)
{
    ensi_tls_opts_t *o = &t->tls_opts;
    o->ca_file = ensi_create_copy(c, ENSI_STR_CA + i, from->ca_file, failed);
    o->ca_pem = ensi_create_copy_pem(c, ENSI_STR_PEM + i, from->ca_pem, failed);
    o->cert_file = ensi_create_copy(c, ENSI_STR_CERT + i, from->cert_file, failed);
    o->cert_pem = ensi_create_copy_pem(c, ENSI_STR_CERT_PEM + i, from->cert_pem, failed);
    o->key_file = ensi_create_copy(c, ENSI_STR_KEY + i, from->key_file, failed);
    o->key_pem = ensi_create_copy_pem(c, ENSI_STR_KEY_PEM + i, from->key_pem, failed);
    o->key_password = ensi_create_copy(c, ENSI_STR_PASSWORD + i, from->key_password, failed);
    o->min_version = from->min_version;
    o->no_resume = from->no_resume;
    o->key_log = from->key_log;
    o->ignore_dates = from->ignore_dates;
    o->insecure_skip_verify = from->insecure_skip_verify;
    o->alpn_h2 = i == ENSIGN_LINK_RPC;
    t->server_name = ensi_create_copy(c, ENSI_STR_SERVER + i, from->server_name, failed);
}
#endif

/* With `external` TLS is the caller's, whose sockets these must be; what our own would look at is refused.
 * `which`: "tls" or "auth_tls". */
static int ensi_create_check_external(ensign_t *c, const char *which, const ensign_tls_desc_t *d)
{
    const struct {
        bool set;
        const char *field;
    } unused[] = {
        { d->ca_file != NULL, "ca_file (ENSIGN_CA_FILE)" },
        { d->ca_pem.ptr != NULL, "ca_pem" },
        { d->server_name != NULL, "server_name" },
        { d->cert_file != NULL, "cert_file (ENSIGN_CERT_FILE)" },
        { d->cert_pem.ptr != NULL, "cert_pem" },
        { d->key_file != NULL, "key_file (ENSIGN_KEY_FILE)" },
        { d->key_pem.ptr != NULL, "key_pem" },
        { d->key_password != NULL, "key_password (ENSIGN_KEY_PASSWORD)" },
        { d->min_version != 0, "min_version (ENSIGN_MIN_TLS)" },
        { d->no_resume, "no_resume" },
        { d->ignore_dates, "ignore_dates" },
        { d->insecure_skip_verify, "insecure_skip_verify" },
        { d->key_log != NULL, "key_log" },
    };
    if (!d->external) return ENSIGN_OK;
    if (c->io != ENSIGN_IO_CALLER)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: %s.external is set, and the sockets are ours: set io to "
                             "ENSIGN_IO_CALLER, or leave external out",
                             which);
    for (size_t i = 0; i < ENSI_COUNT(unused); i++)
        if (unused[i].set)
            return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                                 "client: %s.%s has no effect beside external: leave it out, and do the "
                                 "same in your own TLS (or set external before ensign_desc_env); or leave "
                                 "external out",
                                 which, unused[i].field);
    return ENSIGN_OK;
}

/* Whose TLS is it? Looked at before anything that goes by it. */
static int ensi_create_set_external(ensign_t *c, const ensign_desc_t *d)
{
    int rc = ensi_create_check_external(c, "tls", &d->tls);
    if (rc == ENSIGN_OK) rc = ensi_create_check_external(c, "auth_tls", &d->auth_tls);
    if (rc == ENSIGN_OK && d->tls.off && d->tls.external)
        rc = ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                           "client: tls.off (ENSIGN_INSECURE) and tls.external are both set: leave off out "
                           "where your transport is secure, external where it is plaintext");
    return rc;
}

static int ensi_create_set_tls(ensign_t *c, const ensign_desc_t *d)
{
#ifndef ENSIGN_NO_TLS
    bool failed = false;
    for (int i = 0; i < 2; i++) {
        const ensign_tls_desc_t *from = i == ENSIGN_LINK_RPC ? &d->tls : &d->auth_tls;
        ensi_target_t *t = i == ENSIGN_LINK_RPC ? &c->rpc_target : &c->auth_target;
        int rc = ensi_create_check_tls(c, i == ENSIGN_LINK_RPC ? "tls" : "auth_tls", from);
        if (rc != ENSIGN_OK) return rc;
        ensi_create_copy_tls(c, i, from, t, &failed);
        t->tls_opts.random = d->random;
        t->tls_opts.user = d->user;
    }
    return failed ? ensi_env_memory(&c->env, 0) : ENSIGN_OK;
#else
    (void)d;
    for (size_t i = 0; i < c->rpc_target.endpoint_count; i++)
        if (c->rpc_target.endpoints[i].tls)
            return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                                 "client: ENSIGN_NO_TLS is defined: set tls.off, or tls.external and bring "
                                 "your own TLS");
    for (size_t i = 0; i < c->auth_target.endpoint_count; i++)
        if (c->auth_target.endpoints[i].tls)
            return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                                 "client: ENSIGN_NO_TLS is defined: set an auth_url that begins with "
                                 "http://, or auth_tls.external and bring your own TLS");
    return ENSIGN_OK;
#endif
}

/* Nothing that was left out is asked for. */
static int ensi_create_check_parts(ensign_t *c, const ensign_desc_t *d)
{
    if (!ENSI_HAS_AUTH && (d->client_id || d->client_secret || d->auth_url))
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: ENSIGN_NO_AUTH is defined, and a key or auth_url (ENSIGN_CLIENT_ID, "
                             "ENSIGN_AUTH_URL) is set: leave it out, or compile auth in");
    if (!ENSI_HAS_PROXY && d->proxy && *d->proxy)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: ENSIGN_NO_PROXY is defined, and proxy (HTTPS_PROXY, ALL_PROXY) is set: "
                             "unset it, or compile proxies in");
    return ENSIGN_OK;
}

static int ensi_create_set_key(ensign_t *c, const ensign_desc_t *d)
{
    ensi_auth_t *a = &c->auth;
    bool failed = false;
    if (d->client_id && !(d->client_secret && *d->client_secret && *d->client_id))
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: client_id and client_secret must both be given, and not be empty");
    if (d->client_secret && !d->client_id)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: client_secret without client_id; give both of them, or neither");
    if (d->client_id && d->token)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: token and client_id are both set; give one of them");
    if (ensi_create_check_text(c, "token", d->token, ENSIGN_TOKEN_BYTES) != ENSIGN_OK)
        return ENSIGN_E_ARGUMENT;
    a->client_id = ensi_create_copy(c, ENSI_STR_ID, d->client_id, &failed);
    a->client_secret = ensi_create_copy(c, ENSI_STR_SECRET, d->client_secret, &failed);
    c->env.secrets[ENSI_SECRET_KEY] = a->client_secret;
    a->state = d->client_id ? ENSI_AUTH_IDLE : d->token ? ENSI_AUTH_FIXED : ENSI_AUTH_OFF;
    if (d->token) {
        size_t len = strlen(d->token);
        char *p = c->strings[ENSI_STR_TOKEN] = (char *)ensi_mem_take(&c->env.mem, len + 8);
        if (!p) return ensi_env_memory(&c->env, len);
        memcpy(p, "Bearer ", 7);
        memcpy(p + 7, d->token, len + 1);
        a->bearer = p;
        c->env.secrets[ENSI_SECRET_TOKEN] = p + 7;
    }
    return failed ? ensi_env_memory(&c->env, 0) : ENSIGN_OK;
}

static int ensi_create_set_limits(ensign_t *c, const ensign_desc_t *d)
{
    static const char who[] = "client";
    size_t header_max;
    c->connect_timeout_ms = ensi_or(d->connect_timeout_ms, ENSI_CONNECT_MS);
    c->auth_timeout_ms = ensi_or(d->auth_timeout_ms, 20000);
    c->request_timeout_ms = ensi_or(d->request_timeout_ms, 30000);
    c->open_timeout_ms = ensi_or(d->open_timeout_ms, 30000);
    c->give_up_after_ms = ensi_or(d->give_up_after_ms, ENSIGN_FOREVER);
    c->connection_window = ensi_or(d->connection_window, 1024 * 1024);
    c->drain_timeout_ms = ensi_or(d->drain_timeout_ms, ENSIGN_FOREVER);
    c->keepalive_ms = ensi_or(d->keepalive_ms, ENSI_PING_KEEPALIVE_MS);
    c->keepalive_timeout_ms = ensi_or(d->keepalive_timeout_ms, ENSI_PING_TIMEOUT_MS);
    c->keepalive_all = d->keepalive_ms != 0;
    header_max = ensi_or(d->max_header_bytes, ENSI_H2_HEADERS);
    for (size_t i = 0; i < ENSI_COUNT(c->conns); i++) c->conns[i].h2.header_max = header_max;
    c->max_answer_bytes = ensi_or(d->max_answer_bytes, ENSI_SERVER_MESSAGE_MAX);
#ifndef ENSIGN_NO_SERVICE
    c->cache.cap = d->topic_cache == ENSIGN_OFF ? 0 : ensi_or(d->topic_cache, ENSI_CREATE_CACHE);
    if (!ensi_state_size(c, who, "topic_cache", c->cache.cap, 0, ENSI_CACHE_MAX)) return ENSIGN_E_ARGUMENT;
#endif
    if (!ensi_state_size(c, who, "max_header_bytes", header_max, 4096, ENSI_H2_HEADERS) ||
        !ensi_state_size(c, who, "max_answer_bytes", c->max_answer_bytes, 1024, ENSI_GRPC_BYTES_MAX) ||
        !ensi_state_size(c, who, "keepalive_ms", c->keepalive_ms, ENSI_PING_MIN_MS, ENSIGN_FOREVER) ||
        !ensi_state_size(c, who, "connection_window", c->connection_window, ENSI_H2_WINDOW, INT32_MAX) ||
        !ensi_state_size(c, who, "max_handles", d->max_handles, 0, ENSI_CREATE_HANDLES_MAX))
        return ENSIGN_E_ARGUMENT;
    c->env.backoff_min_ms = ensi_or(d->backoff_min_ms, 100);
    c->env.backoff_max_ms = ensi_or(d->backoff_max_ms, 30000);
    if (c->env.backoff_min_ms > c->env.backoff_max_ms)
        return ensi_env_fail(
            &c->env, ENSIGN_E_ARGUMENT,
            "client: backoff_min_ms is %lu, above backoff_max_ms %lu; lower the one or raise the other",
            (unsigned long)c->env.backoff_min_ms, (unsigned long)c->env.backoff_max_ms);
    return ENSIGN_OK;
}

/* An entry of the desc's `methods`, by its number. */
static int ensi_create_check_method(ensign_t *c, const ensign_desc_t *d, size_t at)
{
    const char *method = ensign_str(d->methods[at].method).len > 0 ? d->methods[at].method : "";
    const ensign_retry_t retry = ensi_call_merge(&d->methods[at].retry, &c->retry);
    const unsigned long number = (unsigned long)at;
    const char *p = method;
    char field[40];
    while (*p > 0x20 && *p < 0x7F) p++;
    if (method[0] != '/' || !strchr(method + 1, '/') || *p != '\0')
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: methods[%lu].method \"%.80s\" must be \"/package.Service/Method\", or "
                             "\"/package.Service/\" for all methods of a service",
                             number, method);
    for (size_t i = 0; i < at; i++)
        if (strcmp(d->methods[i].method, method) == 0)
            return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                                 "client: methods[%lu].method \"%.80s\" is in methods[%lu], too; leave "
                                 "one out",
                                 number, method, (unsigned long)i);
    ensi_fmt(field, sizeof field, "methods[%lu].retry", number);
    return ensi_call_check_retry(c, "client", field, &retry);
}

/* Bytes of the block that ensi_create_set_methods makes. */
static size_t ensi_create_methods_size(const ensign_desc_t *d)
{
    size_t size = 0;
    for (size_t i = 0; d->methods && i < d->method_count; i++)
        size += sizeof *d->methods + ensign_str(d->methods[i].method).len + 1;
    return size;
}

/* Checks and copies `retry` and `methods`. */
static int ensi_create_set_methods(ensign_t *c, const ensign_desc_t *d)
{
    static const ensign_retry_t usual = { 1, 100, 5000, 1u << ENSIGN_GRPC_UNAVAILABLE };
    char *text;
    int rc;
    c->retry = ensi_call_merge(&d->retry, &usual);
    rc = ensi_call_check_retry(c, "client", "retry", &c->retry);
    if (rc == ENSIGN_OK &&
        !ensi_state_size(c, "client", "method_count", d->method_count, 0, ENSI_CREATE_METHODS_MAX))
        rc = ENSIGN_E_ARGUMENT;
    if (rc == ENSIGN_OK && d->method_count > 0 && !d->methods)
        rc = ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                           "client: method_count is %lu, and methods is NULL; set both of them, or neither",
                           (unsigned long)d->method_count);
    for (size_t i = 0; rc == ENSIGN_OK && i < d->method_count; i++) rc = ensi_create_check_method(c, d, i);
    if (rc != ENSIGN_OK || d->method_count == 0) return rc;
    c->methods = (ensign_method_t *)ensi_mem_take(&c->env.mem, ensi_create_methods_size(d));
    if (!c->methods) return ensi_env_memory(&c->env, ensi_create_methods_size(d));
    text = (char *)(c->methods + d->method_count);
    for (size_t i = 0; i < d->method_count; i++) {
        size_t size = strlen(d->methods[i].method) + 1;
        c->methods[i] = d->methods[i];
        c->methods[i].method = (char *)memcpy(text, d->methods[i].method, size);
        c->methods[i].retry = ensi_call_merge(&d->methods[i].retry, &c->retry);
        text += size;
    }
    c->method_count = d->method_count;
    return ENSIGN_OK;
}

/* A seed for jitter and ids, never for TLS. */
static bool ensi_create_seed(const ensign_desc_t *d, uint64_t *seed)
{
    *seed = d->seed;
    if (d->seed) return true;
    if (d->random) return d->random(d->user, seed, sizeof *seed) == 0;
#ifndef ENSIGN_NO_TLS
    return ensi_tls_entropy(seed, sizeof *seed);
#elif !defined(ENSIGN_NO_STDIO)
    {
        FILE *f = fopen("/dev/urandom", "rb");
        bool good = f && fread(seed, sizeof *seed, 1, f) == 1;
        if (f) fclose(f);
        return good;
    }
#else
    return false;
#endif
}

static int ensi_create_set_names(ensign_t *c, const ensign_desc_t *d)
{
    bool failed = false;
    if (!ensi_create_seed(d, &c->env.rng))
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "client: this system gives no random bytes; set seed, or the random hook");
    if (ensign_str(d->name).len > ENSI_CREATE_NAME_MAX)
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT, "client: name has %lu bytes, %d are allowed",
                             (unsigned long)strlen(d->name), ENSI_CREATE_NAME_MAX);
    if (ensi_create_check_text(c, "user_agent", d->user_agent, ENSI_CREATE_AGENT_MAX) != ENSIGN_OK)
        return ENSIGN_E_ARGUMENT;
    c->stream_name = ensi_create_copy(c, ENSI_STR_NAME, d->name, &failed);
    if (!c->stream_name) {
        int64_t ms = c->env.wall_ms(c->env.user);
        uint8_t random[16];
        ensi_put_be64(random, ensi_rng_next(&c->env.rng));
        ensi_put_be64(random + 8, ensi_rng_next(&c->env.rng));
        ensign_ulid_text(ensi_id_ulid_make(ms > 0 ? (uint64_t)ms : 0, random), c->name);
        c->stream_name = c->name;
    }
    ensi_fmt(c->user_agent, sizeof c->user_agent, "%s%sensign.h/%s", d->user_agent ? d->user_agent : "",
             d->user_agent ? " " : "", ENSIGN_VERSION);
    if (ensi_create_check_text(c, "authority", d->authority, ENSI_CREATE_AUTHORITY_MAX) != ENSIGN_OK)
        return ENSIGN_E_ARGUMENT;
    c->authority = ensi_create_copy(c, ENSI_STR_AUTHORITY, d->authority, &failed);
    c->common.user_agent = c->user_agent;
    c->auth.user_agent = c->user_agent;
    return failed ? ensi_env_memory(&c->env, 0) : ENSIGN_OK;
}

/* What the trace hook is told from. */
static int ensi_create_set_trace(ensign_t *c)
{
    size_t size = ENSIGN_MAX_LINKS * sizeof *c->traces;
    c->traces = (ensi_trace_t *)ensi_mem_zero(&c->env.mem, size);
    if (!c->traces) return ensi_env_memory(&c->env, size);
    for (int i = 0; i < ENSIGN_MAX_LINKS; i++) {
        c->traces[i].env = &c->env;
        c->traces[i].link = i;
        c->links[i].trace = &c->traces[i];
    }
    c->auth.trace = &c->traces[ENSIGN_LINK_AUTH];
    c->conns[0].h2.trace = &c->traces[ENSIGN_LINK_RPC];
    c->conns[1].h2.trace = &c->traces[ENSIGN_LINK_RPC_2];
    return ENSIGN_OK;
}

static int ensi_create_init(ensign_t *c, const ensign_desc_t *d)
{
    static const char *const names[ENSIGN_MAX_LINKS] = { "rpc", "auth", "rpc-2" };
    int rc = ensi_create_set_limits(c, d);
    c->rpc_target.name = "rpc";
    c->auth_target.name = "auth";
    for (int i = 0; i < ENSIGN_MAX_LINKS; i++) {
        c->links[i].env = &c->env;
        c->links[i].name = names[i];
        c->links[i].target = i == ENSIGN_LINK_AUTH ? &c->auth_target : &c->rpc_target;
    }
    for (size_t i = 0; i < ENSI_COUNT(c->conns); i++) {
        c->conns[i].h2.env = &c->env;
        c->conns[i].link = &c->links[i == 0 ? ENSIGN_LINK_RPC : ENSIGN_LINK_RPC_2];
    }
    c->conn = &c->conns[0];
    c->auth.env = &c->env;
    c->auth.link = &c->links[ENSIGN_LINK_AUTH];
    c->self.kind = &ensi_client_kind;
    c->self.due_ms = UINT64_MAX;
    c->self.id = ENSIGN_CLIENT;
    c->self.user = d->user;
    c->io = d->io;
#ifdef ENSIGN_NO_SOCKETS
    if (rc == ENSIGN_OK && d->io != ENSIGN_IO_CALLER)
        rc = ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                           "client: ENSIGN_NO_SOCKETS is defined: io must be ENSIGN_IO_CALLER");
#endif
    if (rc == ENSIGN_OK && (d->io < ENSIGN_IO_SOCKETS || d->io > ENSIGN_IO_CALLER))
        rc = ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT, "client: io is %d; use an ENSIGN_IO_x", d->io);
    if (rc == ENSIGN_OK) rc = ensi_create_set_external(c, d);
    if (rc == ENSIGN_OK) rc = ensi_create_check_parts(c, d);
    if (rc == ENSIGN_OK) rc = ensi_create_set_names(c, d); /* the seed shuffles the endpoints */
    if (rc == ENSIGN_OK) rc = ensi_create_set_endpoints(c, d);
    if (ENSI_HAS_AUTH && rc == ENSIGN_OK && (d->client_id || d->auth_url))
        rc = ensi_create_set_auth_url(c, d);
    if (rc == ENSIGN_OK) rc = ensi_create_set_tls(c, d);
    if (rc == ENSIGN_OK) rc = ensi_create_set_key(c, d);
    if (rc == ENSIGN_OK) rc = ensi_create_set_methods(c, d);
    if (rc == ENSIGN_OK && d->trace) rc = ensi_create_set_trace(c);
    if (rc == ENSIGN_OK &&
        !ensi_handles_open(&c->handles, &c->env.mem, ensi_or(d->max_handles, ENSI_CREATE_HANDLES)))
        rc = ensi_env_memory(&c->env, 0);
    return rc;
}

int ensign_create(const ensign_desc_t *d, ensign_t **out, ensign_error_t *why)
{
    ensi_mem_t mem;
    ensign_t *c;
    int rc;

    *out = NULL;
#ifndef ENSIGN_NO_SERVICE
    if (!ensi_pb_check())
        return ensi_fail(why, ENSIGN_E_STATE, 0,
                         "client: the nanopb library was built with other PB_ flags than this file; build "
                         "both with the same");
#endif
    memset(&mem, 0, sizeof mem);
    mem.user = d->user;
    mem.alloc = d->alloc ? d->alloc : ensi_mem_default;
    mem.limit = d->memory_limit;
    c = (ensign_t *)ensi_mem_zero(&mem, sizeof *c);
    if (!c)
        return ensi_fail(why, ENSIGN_E_MEMORY, 0,
                         "client: no memory for its %lu bytes; free some, or raise memory_limit",
                         (unsigned long)sizeof *c);
    c->env.mem = mem;
    c->env.user = d->user;
    c->env.wall_ms = d->wall_ms ? d->wall_ms : ensi_create_wall;
    c->env.wake = d->wake;
    c->env.log = d->log;
    c->env.trace = d->trace;
    c->env.work = true;
#ifndef ENSIGN_NO_SOCKETS
    ensi_sock_init(&c->sockets);
#endif
    rc = ensi_create_init(c, d);
    if (rc != ENSIGN_OK) {
        if (why) *why = *ensign_error(c);
        ensign_destroy(c);
        return rc;
    }
    *out = c;
    return ENSIGN_OK;
}

static void ensi_create_free_secret(ensign_t *c, char *text)
{
    if (text) ensi_wipe(text, ensi_mem_size(text));
    ensi_mem_free(&c->env.mem, text);
}

void ensign_destroy(ensign_t *c)
{
    ensi_mem_t mem;
    if (!c) return;
    while (c->handles.oldest) ensi_client_free_handle(c, c->handles.oldest);
    for (size_t i = 0; i < ENSI_COUNT(c->conns); i++) ensi_h2_stop(&c->conns[i].h2);
#ifndef ENSIGN_NO_SOCKETS
    ensi_sock_free(&c->sockets);
#endif
    if (c->auth.env) ensi_auth_free(&c->auth);
    for (int i = 0; i < ENSIGN_MAX_LINKS; i++)
        if (c->links[i].env) ensi_link_free(&c->links[i]);
    ensi_target_free(&c->rpc_target, &c->env.mem);
    ensi_target_free(&c->auth_target, &c->env.mem);
    ensi_create_free_secret(c, c->proxy.basic);
    ensi_create_free_secret(c, c->proxy.password);
    ensi_mem_free(&c->env.mem, c->proxy.host.name);
    for (int i = 0; i < ENSI_STRS; i++) {
        if (c->strings[i]) ensi_wipe(c->strings[i], ensi_mem_size(c->strings[i]));
        ensi_mem_free(&c->env.mem, c->strings[i]);
    }
    ensi_mem_free(&c->env.mem, c->methods);
    ensi_handles_close(&c->handles, &c->env.mem);
    ensi_mem_free(&c->env.mem, c->traces);
#ifdef ENSIGN_GZIP
    ensi_gzip_close(&c->gzip);
#endif
#ifndef ENSIGN_NO_SERVICE
    ensi_cache_free(&c->cache, &c->env.mem);
#endif
    mem = c->env.mem;
    ensi_mem_free(&mem, c);
    ensi_mem_close(&mem);
}

/* Returns what the endpoints and the proxy take. */
static size_t ensi_create_endpoints_size(const ensign_desc_t *d)
{
    const size_t text = ENSI_MEM_SMALL + ENSI_MEM_HEADER;
    const char *one = d->endpoint ? d->endpoint : "ensign.rotational.app:443";
    const char *auth = d->auth_url ? d->auth_url : "https://auth.rotational.app";
    size_t bytes = strlen(auth), count = ensi_create_count(auth);
    for (size_t i = 0; i < (d->endpoints ? d->endpoint_count : 1); i++) {
        const char *list = d->endpoints ? d->endpoints[i] : one;
        if (!list) continue;
        bytes += strlen(list);
        count += ensi_create_count(list);
    }
    bytes = 2 * bytes + count * (sizeof(ensi_endpoint_t) + 2 * text);
    if (d->proxy)
        bytes += 3 * strlen(d->proxy) + 2 * text + (size_t)ENSIGN_MAX_LINKS * (sizeof(ensi_tunnel_t) + text);
    return bytes;
}

size_t ensign_memory_bound(const ensign_desc_t *d)
{
    const char *const texts[] = { d->token,            d->client_id,
                                  d->client_secret,    d->name,
                                  d->tls.ca_file,      d->auth_tls.ca_file,
                                  d->tls.server_name,  d->auth_tls.server_name,
                                  d->tls.cert_file,    d->auth_tls.cert_file,
                                  d->tls.key_file,     d->auth_tls.key_file,
                                  d->tls.key_password, d->auth_tls.key_password,
                                  d->authority };
#ifndef ENSIGN_NO_TLS
    const size_t records = ENSI_LINK_TLS, conf = sizeof(ensi_tls_conf_t);
#else
    const size_t records = 0, conf = 0;
#endif
    const bool rpc_tls = !d->tls.off && !d->tls.external, auth_tls = !d->auth_tls.external;
    const size_t link = 2 * (size_t)ENSIGN_LINK_BUFFER_BYTES;
    size_t size = sizeof(ensign_t) + 2 * ensi_h2_memory(ensi_or(d->max_header_bytes, ENSI_H2_HEADERS)) +
                  ENSI_MEM_KEEP * (ENSI_MEM_SMALL + ENSI_MEM_HEADER) + 4096;
    size += ensi_create_endpoints_size(d) + ensi_handles_size(ensi_or(d->max_handles, ENSI_CREATE_HANDLES));
    size += ensi_create_methods_size(d) + ENSI_MEM_SMALL;
    size += 2 * link + (rpc_tls ? 2 * records + conf : 0);
    if (d->trace) size += ENSIGN_MAX_LINKS * sizeof(ensi_trace_t) + ENSI_MEM_HEADER;
    /* three tokens, and two more while they are replaced */
    if (d->client_id || d->auth_url)
        size += link + (auth_tls ? records + conf : 0) + 5 * (size_t)ENSIGN_TOKEN_BYTES +
                ENSI_AUTH_BODY_BYTES;
    for (size_t i = 0; i < ENSI_COUNT(texts); i++) size += ensign_str(texts[i]).len + ENSI_MEM_SMALL;
#ifdef ENSIGN_GZIP
    size += ENSI_GZIP_BYTES;
#endif
#ifndef ENSIGN_NO_SERVICE
    if (d->topic_cache != ENSIGN_OFF)
        size += ensi_cache_bound(ensi_or(d->topic_cache, ENSI_CREATE_CACHE));
#endif
    for (int i = 0; i < 2; i++) {
        const ensign_tls_desc_t *t = i == ENSIGN_LINK_RPC ? &d->tls : &d->auth_tls;
        size += t->ca_pem.len + t->cert_pem.len + t->key_pem.len + 2 * (size_t)ENSI_MEM_SMALL;
    }
    return size;
}

/* ---- the environment */

static int ensi_create_env_bool(const char *name, bool *out, ensign_error_t *why)
{
    static const char *const yes[] = { "1", "y", "t", "yes", "true", "on" };
    static const char *const no[] = { "0", "n", "f", "no", "false", "off", "" };
    const char *v = getenv(name);
    if (!v) return ENSIGN_OK;
    for (size_t i = 0; i < ENSI_COUNT(yes); i++)
        if (ensi_slice_is_word(ensign_str(v), yes[i])) *out = true;
    for (size_t i = 0; i < ENSI_COUNT(no); i++)
        if (ensi_slice_is_word(ensign_str(v), no[i])) return ENSIGN_OK;
    if (*out) return ENSIGN_OK;
    return ensi_fail(why, ENSIGN_E_FORMAT, 0,
                     "environment: %s is \"%.60s\"; use 1 y t yes true on, or 0 n f no false off", name, v);
}

/* Returns the value of the first of these that is set and not empty, or NULL. */
static const char *ensi_create_env_first(const char *upper, const char *lower)
{
    const char *v = getenv(upper);
    if (!v || !*v) v = getenv(lower);
    return v && *v ? v : NULL;
}

static int ensi_create_env_min_tls(int *out, ensign_error_t *why)
{
    const char *v = getenv("ENSIGN_MIN_TLS");
    *out = 0;
    if (!v || *v == '\0') return ENSIGN_OK;
    if (strcmp(v, "1.2") == 0) *out = ENSIGN_TLS_1_2;
    if (strcmp(v, "1.3") == 0) *out = ENSIGN_TLS_1_3;
    if (*out != 0) return ENSIGN_OK;
    return ensi_fail(why, ENSIGN_E_FORMAT, 0, "environment: ENSIGN_MIN_TLS is \"%.60s\"; use 1.2 or 1.3", v);
}

static void ensi_create_env_tls(ensign_tls_desc_t *d, int min_version)
{
    if (d->external) return;
    if (!d->ca_file && !d->ca_pem.ptr) d->ca_file = getenv("ENSIGN_CA_FILE");
    if (d->min_version == 0) d->min_version = min_version;
}

/* Certificate and key come together, so that those of two sources are never mixed. */
static void ensi_create_env_own(ensign_tls_desc_t *d)
{
    if (d->external) return;
    if (!d->cert_file && !d->cert_pem.ptr && !d->key_file && !d->key_pem.ptr) {
        d->cert_file = getenv("ENSIGN_CERT_FILE");
        d->key_file = getenv("ENSIGN_KEY_FILE");
    }
    if (!d->key_password && (d->key_file || d->key_pem.ptr)) d->key_password = getenv("ENSIGN_KEY_PASSWORD");
}

/* 1 to 5; unset or empty: 0. */
static int ensi_create_env_attempts(uint32_t *out, ensign_error_t *why)
{
    const char *v = getenv("ENSIGN_ATTEMPTS");
    if (!v || !*v) return ENSIGN_OK;
    if (v[0] < '1' || v[0] > '0' + ENSI_RETRY_ATTEMPTS_MAX || v[1] != '\0')
        return ensi_fail(why, ENSIGN_E_FORMAT, 0,
                         "environment: ENSIGN_ATTEMPTS is \"%.60s\"; use a number from 1 to %d", v,
                         ENSI_RETRY_ATTEMPTS_MAX);
    *out = (uint32_t)(v[0] - '0');
    return ENSIGN_OK;
}

int ensign_desc_env(ensign_desc_t *d, ensign_error_t *why)
{
    bool insecure = false, no_auth = false;
    uint32_t attempts = 0;
    int min_tls = 0, rc = ensi_create_env_bool("ENSIGN_INSECURE", &insecure, why);
    if (rc == ENSIGN_OK) rc = ensi_create_env_bool("ENSIGN_NO_AUTHENTICATION", &no_auth, why);
    if (rc == ENSIGN_OK) rc = ensi_create_env_min_tls(&min_tls, why);
    if (rc == ENSIGN_OK) rc = ensi_create_env_attempts(&attempts, why);
    if (rc != ENSIGN_OK) return rc;
    if (d->retry.max_attempts == 0) d->retry.max_attempts = attempts;
    if (!d->endpoint && !d->endpoints) d->endpoint = getenv("ENSIGN_ENDPOINT");
    if (!d->auth_url) d->auth_url = getenv("ENSIGN_AUTH_URL");
    if (!no_auth && !d->token && !d->client_id) d->client_id = getenv("ENSIGN_CLIENT_ID");
    if (!no_auth && !d->token && !d->client_secret && d->client_id)
        d->client_secret = getenv("ENSIGN_CLIENT_SECRET");
    if (!d->proxy) d->proxy = ensi_create_env_first("HTTPS_PROXY", "https_proxy");
    if (!d->proxy) d->proxy = ensi_create_env_first("ALL_PROXY", "all_proxy");
    if (!d->no_proxy) d->no_proxy = ensi_create_env_first("NO_PROXY", "no_proxy");
    ensi_create_env_tls(&d->tls, min_tls);
    ensi_create_env_tls(&d->auth_tls, min_tls);
    ensi_create_env_own(&d->tls);
    if (insecure) d->tls.off = true;
    return ENSIGN_OK;
}

/* ---- the credentials file */
#ifndef ENSIGN_NO_STDIO
static int ensi_create_read_file(const char *path, char *buf, size_t cap, size_t *len, ensign_error_t *why)
{
    FILE *f = fopen(path, "rb");
    int native = errno, bad;
    if (!f)
        return ensi_fail(why, ENSIGN_E_FILE, native, "credentials: %.120s cannot be opened: %s", path,
                         strerror(native));
    setvbuf(f, NULL, _IONBF, 0); /* else a copy would stay behind in a buffer of stdio's */
    *len = fread(buf, 1, cap, f);
    bad = ferror(f);
    native = errno;
    fclose(f);
    if (bad || *len == cap) ensi_wipe(buf, *len);
    if (bad)
        return ensi_fail(why, ENSIGN_E_FILE, native, "credentials: %.120s cannot be read: %s", path,
                         strerror(native));
    if (*len == cap)
        return ensi_fail(why, ENSIGN_E_TOO_LARGE, 0,
                         "credentials: %.120s and its strings do not fit buf of %lu bytes; give more", path,
                         (unsigned long)cap);
    return ENSIGN_OK;
}

/* What a member is that is not text to send; never the value itself, which could be the secret. */
static const char *ensi_create_kind_of(ensign_slice_t value)
{
    switch (*value.ptr) {
    case '"': return value.len == 2 ? "empty" : "text with a NUL";
    case '{': return "an object";
    case '[': return "an array";
    case 't': return "the boolean true";
    case 'f': return "the boolean false";
    case 'n': return "null";
    default: return "a number";
    }
}

/* A member that must be text and not empty, into `out`. */
static int ensi_create_member(ensign_slice_t doc, const char *path, const char *key, char *out, size_t cap,
                              size_t *len, ensign_error_t *why)
{
    ensign_slice_t value;
    int rc = ensi_json_string(doc, key, out, cap, len);
    if (rc == ENSIGN_OK && *len > 0 && strlen(out) == *len) return ENSIGN_OK;
    if (rc == ENSIGN_E_TOO_LARGE)
        return ensi_fail(why, rc, 0, "credentials: %s of %.120s does not fit buf; give more", key, path);
    rc = ensi_json_member(doc, key, &value);
    if (rc == ENSIGN_AGAIN)
        return ensi_fail(why, ENSIGN_E_FORMAT, 0,
                         "credentials: %.120s has no member \"%s\"; it must have ClientID and ClientSecret",
                         path, key);
    if (rc != ENSIGN_OK)
        return ensi_fail(
            why, ENSIGN_E_FORMAT, 0,
            "credentials: %.120s is no JSON object {\"ClientID\": \"..\", \"ClientSecret\": \"..\"}", path);
    return ensi_fail(why, ENSIGN_E_FORMAT, 0,
                     "credentials: \"%s\" of %.120s is %s; it must be a string, and not empty", key, path,
                     ensi_create_kind_of(value));
}

int ensign_desc_file(ensign_desc_t *d, const char *path, char *buf, size_t cap, ensign_error_t *why)
{
    ensign_slice_t doc;
    size_t len = 0, id = 0, secret = 0;
    int rc;
    if (!d || !path || !buf)
        return ensi_fail(why, ENSIGN_E_ARGUMENT, 0, "credentials: no desc, path or buf is given");
    rc = ensi_create_read_file(path, buf, cap, &len, why);
    if (rc != ENSIGN_OK) return rc;
    doc = ensi_slice(buf, len);
    rc = ensi_create_member(doc, path, "ClientID", buf + len, cap - len, &id, why);
    if (rc == ENSIGN_OK)
        rc = ensi_create_member(doc, path, "ClientSecret", buf + len + id + 1, cap - len - id - 1, &secret,
                                why);
    if (rc != ENSIGN_OK) {
        ensi_wipe(buf, cap);
        return rc;
    }
    memmove(buf, buf + len, id + secret + 2);
    ensi_wipe(buf + id + secret + 2, cap - id - secret - 2);
    if (d->client_id || d->client_secret || d->token) {
        ensi_wipe(buf, id + secret + 2); /* it is not needed */
        return ENSIGN_OK;
    }
    d->client_id = buf;
    d->client_secret = buf + id + 1;
    return ENSIGN_OK;
}
#endif

#ifndef ENSIGN_NO_SOCKETS
/* >>sockets   may call: util env sock pub client
 * The driver: poll set, step, wait, await
 *
 * Moves bytes between the OS and the links by the public functions of the loop without sockets, and asks
 * client a few questions beyond them (ensi_client_x). So what is tested without sockets is what ships.
 *
 * Owns   nothing: the sockets are section sock's; of the client it sees them, `io`, `env`'s error and time.
 * Holds  while UP, can_read and can_write fall only when the OS said "would block": for edge-triggered loops,
 *        which are told of bytes and of the end behind them once. The waits here ask poll each time, so they
 *        stop at a short read: the one that would block is spared. A step that follows makes up for it.
 * Moves  a step notes ready flags first, then reads, then lets timers run (a deadline must not win over an
 *        answer that is here already), then links dial, hang up and send. A wait does the work that calls
 *        have left before it polls, so that one poll serves both ways.
 *        A dial starts a connect every 250 ms, at once after one that failed, ENSI_SOCK_RACERS at a time.
 *        When all are under way and an address waits, the oldest is dropped once it has had its share of the
 *        attempt's time: addresses that swallow SYNs do not keep the others from their turn.
 * Fails  a socket's error is the link's: ensign_link_down has it. Of a dial it is the last one. A step fails
 *        on bad arguments only. */
#ifndef ENSI_SOCK_BUDGET
#define ENSI_SOCK_BUDGET 1048576    /* bytes a link reads, and sends, in one step; a test makes it small */
#endif
enum {
    ENSI_SOCK_ROUNDS = 32,          /* turns of the links in one step */
    ENSI_SOCK_WAIT_MAX = 64,        /* fds in one ensign_wait */
    ENSI_SOCK_DELAY_MS = 250,       /* from one connect of a link to the next (RFC 8305, section 5) */
    ENSI_SOCK_TEXT = 64,            /* longest address: v6 (45), %, name of an interface (15), NUL */
    ENSI_SOCK_KEEP_IDLE_S = 60,     /* TCP keepalive: silence before the first probe, */
    ENSI_SOCK_KEEP_STEP_S = 10,     /* between probes, */
    ENSI_SOCK_KEEP_COUNT = 6,       /* and how many */
    ENSI_SOCK_UNACKED_MS = 60000    /* sent bytes without TCP's ack, until the connection counts as broken */
};

/* A poll set has room for all sockets of all links. */
enum { ENSI_SOCK_FDS = (int)ENSIGN_MAX_LINKS * (int)ENSI_SOCK_RACERS };
typedef char ensi_sock_wants_room_in_the_poll_set[(int)ENSI_SOCK_FDS <= (int)ENSIGN_MAX_FDS ? 1 : -1];

/* The link's dial, or its connection, ends. */
static void ensi_sock_lost(ensign_t *c, ensi_race_t *r, int link, int native, uint64_t now_ms)
{
    ensi_race_drop(r, NULL);
    (void)ensign_link_down(c, link, r->attempt, native, now_ms);
}

/* ---- addresses */
typedef union {
    struct sockaddr     any;
    struct sockaddr_in  v4;
    struct sockaddr_in6 v6;
#ifndef _WIN32
    struct sockaddr_un  local;
#endif
} ensi_sock_addr_t;

#ifndef _WIN32
/* The path of a unix socket to an address. 0: it is too long. */
static ensi_sock_len_t ensi_sock_addr_unix(ensi_sock_addr_t *a, const char *path)
{
    size_t n = strlen(path);

    if (n >= sizeof a->local.sun_path) return 0;
    a->local.sun_family = AF_UNIX;
    memcpy(a->local.sun_path, path, n + 1);
    return sizeof a->local;
}
#endif

/* Turns numeric text, or "unix:/path", into an address. It returns 0 for other text. It calls no resolver, as
 * it serves ENSIGN_NO_DNS too. */
static ensi_sock_len_t ensi_sock_addr(ensi_sock_addr_t *a, const char *text, uint16_t port)
{
    char host[ENSI_SOCK_TEXT];
    char *scope;
    size_t n = strlen(text);

    memset(a, 0, sizeof *a);
#ifndef _WIN32
    if (strncmp(text, "unix:", 5) == 0) return ensi_sock_addr_unix(a, text + 5);
#endif
    if (n >= sizeof host) return 0;
    memcpy(host, text, n + 1);
    if (inet_pton(AF_INET, host, &a->v4.sin_addr) == 1) {
        a->v4.sin_family = AF_INET;
        a->v4.sin_port = htons(port);
        return sizeof a->v4;
    }
    memset(a, 0, sizeof *a);
    scope = strchr(host, '%');
    if (scope) *scope++ = 0;
    if (inet_pton(AF_INET6, host, &a->v6.sin6_addr) != 1) return 0;
    a->v6.sin6_family = AF_INET6;
    a->v6.sin6_port = htons(port);
    if (scope) a->v6.sin6_scope_id = ensi_sock_os_scope(scope);
    return sizeof a->v6;
}

#ifndef ENSIGN_NO_DNS
/* Returns the first group of the longest run of zeros, which is written as "::" (RFC 5952). *len is 0 if no
 * two groups in a row are zero. */
static size_t ensi_sock_zeros(const uint8_t ip[16], size_t *len)
{
    size_t at = 0, run = 0;
    *len = 0;
    for (size_t i = 0; i < 8; i++) {
        run = ip[2 * i] == 0 && ip[2 * i + 1] == 0 ? run + 1 : 0;
        if (run > 1 && run > *len) *len = run, at = i + 1 - run;
    }
    return at;
}

static void ensi_sock_put_ip4(ensi_text_t *t, const uint8_t ip[4])
{
    ensi_text_format(t, "%d.%d.%d.%d", ip[0], ip[1], ip[2], ip[3]);
}

static void ensi_sock_put_ip6(ensi_text_t *t, const uint8_t ip[16])
{
    static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF }; /* IPv4's by IPv6 */
    size_t len, at = ensi_sock_zeros(ip, &len);
    if (memcmp(ip, mapped, sizeof mapped) == 0) {
        ensi_text_puts(t, "::ffff:");
        ensi_sock_put_ip4(t, ip + sizeof mapped);
        return;
    }
    for (size_t i = 0; i < 8; i++) {
        bool zero = i >= at && i < at + len, first = i == 0 || (len > 0 && i == at + len);
        if (!zero) ensi_text_format(t, "%s%x", first ? "" : ":", (unsigned)(ip[2 * i] << 8 | ip[2 * i + 1]));
        else if (i == at) ensi_text_puts(t, "::");
    }
}

/* The address as ensi_sock_addr reads it. False: it is of another family. getnameinfo would do the same, and
 * bring a resolver of names and snprintf into a small program. */
static bool ensi_sock_text(const struct addrinfo *from, char *out, size_t cap)
{
    ensi_sock_addr_t a;
    ensi_text_t t;

    memset(&a, 0, sizeof a);
    memcpy(&a, from->ai_addr, ensi_min(from->ai_addrlen, sizeof a));
    ensi_text_begin(&t, out, cap);
    if (a.any.sa_family == AF_INET) ensi_sock_put_ip4(&t, (const uint8_t *)&a.v4.sin_addr);
    if (a.any.sa_family == AF_INET6) ensi_sock_put_ip6(&t, (const uint8_t *)&a.v6.sin6_addr);
    if (a.any.sa_family == AF_INET6 && a.v6.sin6_scope_id != 0)
        ensi_text_format(&t, "%%%lu", (unsigned long)a.v6.sin6_scope_id);
    return ensi_text_end(&t, cap) > 0;
}

/* Resolvers call a name unknown when no descriptor is left to ask for it. Returns the errno of that,
 * 0: there is one. */
static int ensi_sock_no_descriptor(void)
{
    intptr_t fd = -1;
    int e = ensi_sock_os_open(AF_INET, &fd);
    if (fd != -1) ensi_sock_os_close(fd);
    return e == EMFILE || e == ENFILE ? e : 0;
}

/* Asks the OS, which may take seconds. */
static void ensi_sock_resolve(ensign_t *c, int link, const ensign_link_t *want, uint64_t now_ms)
{
    char text[4 * ENSIGN_MAX_ADDRESSES][ENSI_SOCK_TEXT]; /* as many as ensign_resolved chooses from */
    const char *list[4 * ENSIGN_MAX_ADDRESSES];
    struct addrinfo hints, *all = NULL;
    size_t n = 0;
    int rc, native;

    memset(&hints, 0, sizeof hints);
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    rc = getaddrinfo(want->host, NULL, &hints, &all);
    for (const struct addrinfo *a = rc == 0 ? all : NULL; a && n < ENSI_COUNT(list); a = a->ai_next) {
        if (!ensi_sock_text(a, text[n], sizeof text[n])) continue;
        list[n] = text[n];
        n++;
    }
    if (all) freeaddrinfo(all);
    if (rc == 0 && n == 0) rc = EAI_NONAME;
    native = rc ? ensi_sock_no_descriptor() : 0;
    if (native) (void)ensign_link_down(c, link, want->attempt, native, now_ms);
    else (void)ensign_resolved(c, link, want->attempt, list, n, rc);
}
#endif

/* ---- connect */
static void ensi_sock_set(intptr_t fd, int level, int option, int value)
{
    /* Comfort, not need: a kernel that lacks one of these still carries the bytes. */
    (void)setsockopt(ENSI_SOCK_FD(fd), level, option, (const char *)&value, sizeof value);
}

static void ensi_sock_options(intptr_t fd)
{
    ensi_sock_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    ensi_sock_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
#if defined(TCP_KEEPIDLE)
    ensi_sock_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, ENSI_SOCK_KEEP_IDLE_S);
#elif defined(TCP_KEEPALIVE)
    ensi_sock_set(fd, IPPROTO_TCP, TCP_KEEPALIVE, ENSI_SOCK_KEEP_IDLE_S);
#endif
#if defined(TCP_KEEPINTVL) && defined(TCP_KEEPCNT)
    ensi_sock_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, ENSI_SOCK_KEEP_STEP_S);
    ensi_sock_set(fd, IPPROTO_TCP, TCP_KEEPCNT, ENSI_SOCK_KEEP_COUNT);
#endif
#if defined(TCP_USER_TIMEOUT)
    ensi_sock_set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, ENSI_SOCK_UNACKED_MS);
#endif
#if defined(SO_NOSIGPIPE)
    ensi_sock_set(fd, SOL_SOCKET, SO_NOSIGPIPE, 1);
#endif
}

static uint32_t ensi_sock_next_serial(ensi_sockets_t *x)
{
    if (++x->last_serial == 0) x->last_serial = 1; /* 0 is no socket's */
    return x->last_serial;
}

/* Starts one connect. Returns 0, or the errno when it is refused at once. */
static int ensi_sock_connect(ensi_sockets_t *x, ensi_sock_t *s, const char *text, uint16_t port)
{
    ensi_sock_addr_t a;
    ensi_sock_len_t len = ensi_sock_addr(&a, text, port);
    intptr_t fd = -1;
    int e = len == 0 ? ENSI_SOCK_EINVAL : ensi_sock_os_open(a.any.sa_family, &fd);

    if (e == 0) {
        ensi_sock_options(fd);
        if (connect(ENSI_SOCK_FD(fd), &a.any, len) != 0) e = ensi_sock_os_error();
    }
    /* of a unix socket EAGAIN says that its queue is full, and nothing goes on by itself (connect(2)) */
    if (e != 0 && (!ensi_sock_os_blocked(e) || (port == 0 && ensi_sock_os_full(e)))) {
        if (fd != -1) ensi_sock_os_close(fd);
        return e;
    }
    ensi_sock_move(&s->state, ENSI_SOCK_IN_DIAL);
    s->fd = fd;
    s->serial = ensi_sock_next_serial(x);
    s->listed = s->can_read = s->cut_short = s->unsent = false;
    s->can_write = e == 0; /* connected at once: no readiness will be told */
    return 0;
}

/* A connecting socket became ready. True: it is connected; else it is still on its way, or has failed, and
 * the next address is due at once. */
static bool ensi_sock_finish(ensi_race_t *r, ensi_sock_t *s)
{
    ensi_sock_addr_t peer;
    int e = 0;
    ensi_sock_len_t len = sizeof e;

    if (s->state != ENSI_SOCK_CONNECTING || (!s->can_write && !s->can_read)) return false;
    s->can_read = s->can_write = false;
    if (getsockopt(ENSI_SOCK_FD(s->fd), SOL_SOCKET, SO_ERROR, (char *)&e, &len) != 0)
        e = ensi_sock_os_error();
    if (e != 0) {
        ensi_sock_drop(s);
        r->native = e;
        r->next_ms = 0;
        return false;
    }
    len = sizeof peer;
    if (getpeername(ENSI_SOCK_FD(s->fd), &peer.any, &len) != 0) return false; /* a false alarm */
    ensi_sock_move(&s->state, ENSI_SOCK_IN_CONNECTED);
    s->can_write = true;
    return true;
}

/* Dials the addresses that are due, as far as sockets are free. */
static void ensi_race_go_on(ensign_t *c, ensi_race_t *r, const ensign_link_t *want, uint64_t now_ms)
{
    while (ensi_race_due(r) <= now_ms) {
        int e, oldest;
        ensi_sock_t *s;

        if (ensi_race_under_way(r, &oldest) == ENSI_SOCK_RACERS) ensi_sock_drop(&r->sock[oldest]);
        s = ensi_race_first(r, ENSI_SOCK_NONE);
        r->held = !s;
        if (!s) return;
        s->address = r->tried++;
        s->since_ms = now_ms;
        e = ensi_sock_connect(&c->sockets, s, want->addresses[s->address], want->port);
        r->next_ms = e == 0 ? now_ms + ENSI_SOCK_DELAY_MS : 0;
        if (e != 0) r->native = e;
        if (ensi_sock_os_scarce(e) && ensi_race_under_way(r, &oldest) > 0) {
            r->tried--; /* the address is not to blame: it is tried again when a socket may be free */
            r->next_ms = now_ms + ENSI_SOCK_DELAY_MS;
        }
    }
}

/* The link wants to be dialled: the addresses race, the first one that is connected wins. True: something was
 * done that links see. */
static bool ensi_race_run(ensign_t *c, ensi_race_t *r, int link, const ensign_link_t *want, uint64_t now_ms)
{
    if (!r->dialing) {
        uint32_t left = ensi_client_left(c, link);
        r->used = r->dialing = true;
        r->attempt = want->attempt;
        r->tried = 0;
        r->count = want->address_count;
        r->next_ms = 0;
        r->share_ms = (left == ENSIGN_FOREVER ? (uint32_t)ENSI_CONNECT_MS : left) / (uint32_t)r->count;
        r->native = ENSI_SOCK_EINVAL;
    }
    for (int i = 0; i < ENSI_SOCK_RACERS; i++) {
        ensi_sock_t *s = &r->sock[i];
        if (!ensi_sock_finish(r, s)) continue;
        ensi_race_drop(r, s);
        (void)ensign_link_up(c, link, r->attempt, s->address, now_ms);
        return true;
    }
    ensi_race_go_on(c, r, want, now_ms);
    for (int i = 0; i < ENSI_SOCK_RACERS; i++)
        if (r->sock[i].state == ENSI_SOCK_CONNECTING) return r->sock[i].can_write;
    if (r->held) return false;
    ensi_sock_lost(c, r, link, r->native, now_ms);
    return true;
}

/* ---- bytes */
/* Returns the socket of a link that runs. NULL: it does not run, or not by a socket of this section. */
static ensi_sock_t *ensi_sock_running(const ensign_t *c, ensi_race_t *r, int link)
{
    return ensi_client_runs(c, link, r->attempt) ? ensi_race_first(r, ENSI_SOCK_UP) : NULL;
}

/* Reads what has come. `all`: until the OS says that nothing is left; else a short read is the last one. */
static void ensi_sock_read(ensign_t *c, ensi_race_t *r, int link, uint64_t now_ms, bool all)
{
    size_t budget = ENSI_SOCK_BUDGET;
    ensi_sock_t *s = ensi_race_first(r, ENSI_SOCK_UP);

    while (s && ensi_sock_may_read(s, all) && budget > 0 && ensi_sock_running(c, r, link)) {
        size_t cap, len;
        uint8_t *to = ensign_rx_buf(c, link, &cap);
        int e;

        s->full = to && cap == 0;
        if (!to || cap == 0) return;
        if (cap > budget) cap = budget;
        e = ensi_sock_os_recv(s->fd, to, cap, &len);
        if (e != 0 && ensi_sock_os_blocked(e)) {
            s->can_read = false;
        } else if (e != 0 || len == 0) {
            ensi_sock_lost(c, r, link, e, now_ms);
        } else {
            budget -= len;
            s->cut_short = len < cap;
            (void)ensign_rx_ack(c, link, len, now_ms);
        }
    }
}

/* Sends what is in tx. Returns 0, or the errno of a broken connection. */
static int ensi_sock_write(ensign_t *c, ensi_sock_t *s, int link)
{
    size_t budget = ENSI_SOCK_BUDGET;

    s->unsent = false;
    while (s->can_write) {
        size_t have, len;
        const uint8_t *from = ensign_tx_buf(c, link, &have);
        int e;

        if (!from || have == 0) return 0;
        if (budget == 0) {
            s->unsent = true;
            return 0;
        }
        e = ensi_sock_os_send(s->fd, from, have < budget ? have : budget, &len);
        if (e != 0) {
            s->can_write = false;
            return ensi_sock_os_blocked(e) ? 0 : e;
        }
        budget -= len;
        s->full = false;
        (void)ensign_tx_ack(c, link, len);
    }
    return 0;
}

/* A running link sends. When that fails, the peer's last words are read first: they say more than EPIPE. */
static void ensi_sock_run(ensign_t *c, ensi_race_t *r, ensi_sock_t *s, int link, uint64_t now_ms)
{
    int e = ensi_sock_write(c, s, link);

    if (e == 0) return;
    s->can_read = true;
    while ((s = ensi_sock_running(c, r, link)) != NULL && s->can_read && !s->full)
        ensi_sock_read(c, r, link, now_ms, true);
    if (s) ensi_sock_lost(c, r, link, e, now_ms);
}

static void ensi_sock_hangup(ensign_t *c, ensi_race_t *r, int link, uint32_t attempt, uint64_t now_ms)
{
    ensi_sock_t *s = ensi_race_first(r, ENSI_SOCK_UP);

    if (s) (void)ensi_sock_write(c, s, link); /* what is left in tx, if quick */
    r->attempt = attempt;
    ensi_sock_lost(c, r, link, 0, now_ms);
}

/* ---- a step */
/* Does what one link wants now. True: it may want something else after that. */
static bool ensi_sock_obey(ensign_t *c, ensi_race_t *r, int link, uint64_t now_ms)
{
    ensign_link_t want;
    ensi_sock_t *s;

    r->held = false;
    if (ensi_client_runs(c, link, r->attempt)) {
        s = ensi_race_first(r, ENSI_SOCK_UP);
        if (!s) return false; /* somebody else said that it is up */
        ensi_sock_run(c, r, s, link, now_ms);
        return !ensi_sock_running(c, r, link);
    }
    ensign_link(c, link, &want);
    if (r->used && want.attempt != r->attempt) ensi_race_drop(r, NULL); /* the link went on without us */
    switch (want.todo) {
    case ENSIGN_LINK_RESOLVE:
#ifndef ENSIGN_NO_DNS
        if (c->io != ENSIGN_IO_SOCKETS) return false;
        ensi_sock_resolve(c, link, &want, now_ms);
        return true;
#else
        return false;
#endif
    case ENSIGN_LINK_DIAL:
        return ensi_race_run(c, r, link, &want, now_ms);
    case ENSIGN_LINK_RUN: return false; /* this attempt is somebody else's */
    case ENSIGN_LINK_HANGUP:
        ensi_sock_hangup(c, r, link, want.attempt, now_ms);
        return true;
    default:
        if (r->used) ensi_race_drop(r, NULL);
        return false;
    }
}

/* Notes what is ready of the sockets of one link. */
static void ensi_sock_note(ensi_race_t *r, const ensign_poll_t *ready)
{
    for (int i = 0; r->used && i < ENSI_SOCK_RACERS; i++) {
        ensi_sock_t *s = &r->sock[i];
        if (!ensi_sock_live(s) || ready->serial != s->serial) continue;
        if (ready->ready & (ENSIGN_READ | ENSIGN_HUP)) s->can_read = true, s->cut_short = false;
        if (ready->ready & (ENSIGN_WRITE | ENSIGN_HUP)) s->can_write = true;
    }
}

static void ensi_sock_settle(ensign_t *c, ensi_sockets_t *x, uint64_t now_ms)
{
    x->again = true;
    for (int round = 0; x->again && round < ENSI_SOCK_ROUNDS; round++) {
        x->again = false;
        for (int link = 0; link < ENSIGN_MAX_LINKS; link++) {
            if (!x->link[link].used && ensi_client_idle(c, link)) continue;
            x->again |= ensi_sock_obey(c, &x->link[link], link, now_ms);
        }
    }
}

/* One step. `all`: see ensi_sock_read. */
static int ensi_sock_step(ensign_t *c, const ensign_poll_t *ready, size_t n, uint64_t now_ms, bool all)
{
    ensi_sockets_t *x = &c->sockets;
    int rc;

    for (size_t i = 0; i < n; i++)
        for (int link = 0; link < ENSIGN_MAX_LINKS; link++) ensi_sock_note(&x->link[link], &ready[i]);
    for (int link = 0; link < ENSIGN_MAX_LINKS; link++)
        if (x->link[link].used) ensi_sock_read(c, &x->link[link], link, now_ms, all);
    rc = ensign_tick(c, now_ms);
    ensi_sock_settle(c, x, c->env.now_ms); /* a time that goes back is taken as the last */
    return rc;
}

ENSIGN_API int ensign_step(ensign_t *c, const ensign_poll_t *ready, size_t n, uint64_t now_ms)
{
    if (!ready && n > 0) {
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "sockets: ready is NULL, n is %lu; pass entries, or n 0", (unsigned long)n);
    }
    if (c->io == ENSIGN_IO_CALLER) return ensign_tick(c, now_ms);
    return ensi_sock_step(c, ready, n, now_ms, true);
}

/* Closes what was listed with GONE the last time, and fills the socket's entry. False: it has none. */
static bool ensi_sock_list(ensign_t *c, ensi_sock_t *s, int link, ensign_poll_t *p)
{
    size_t waiting = 0;

    if (s->parting != -1) ensi_sock_os_close(s->parting);
    s->parting = -1;
    if (s->state == ENSI_SOCK_NONE) return false;
    p->fd = s->fd;
    p->serial = s->serial;
    p->ready = 0;
    p->want = ENSIGN_GONE;
    if (ensi_sock_move(&s->state, ENSI_SOCK_IN_LIST)) {
        s->parting = s->fd;
        s->fd = -1;
        return true;
    }
    s->listed = true;
    if (s->state == ENSI_SOCK_UP) (void)ensign_tx_buf(c, link, &waiting);
    p->want = (s->full ? 0 : ENSIGN_READ) | (waiting ? ENSIGN_WRITE : 0);
    if (s->state == ENSI_SOCK_CONNECTING) p->want = ENSIGN_WRITE;
    return true;
}

ENSIGN_API int ensign_poll_set(ensign_t *c, ensign_poll_t set[ENSIGN_MAX_FDS])
{
    int n = 0;

    for (int link = 0; link < ENSIGN_MAX_LINKS; link++) {
        ensi_race_t *r = &c->sockets.link[link];
        bool used = r->dialing;
        for (int i = 0; r->used && i < ENSI_SOCK_RACERS; i++) {
            bool listed = ensi_sock_list(c, &r->sock[i], link, &set[n]);
            used |= listed;
            n += listed;
        }
        r->used = used;
    }
    return n;
}

/* ---- programs without a loop */
static short ensi_sock_events(int want)
{
    int events = (want & ENSIGN_READ ? POLLIN : 0) | (want & ENSIGN_WRITE ? POLLOUT : 0);

    return (short)events;
}

static int ensi_sock_ready(short events)
{
    int ready = (events & POLLIN ? ENSIGN_READ : 0) | (events & POLLOUT ? ENSIGN_WRITE : 0);

    return events & (POLLERR | POLLHUP | POLLNVAL) ? ready | ENSIGN_READ | ENSIGN_HUP : ready;
}

static size_t ensi_sock_poll_add(ensi_sock_pollfd_t *p, size_t at, const ensign_poll_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++, at++) {
        memset(&p[at], 0, sizeof p[at]);
        p[at].fd = ENSI_SOCK_FD(from[i].fd);
        p[at].events = ensi_sock_events(from[i].want);
    }
    return at;
}

static bool ensi_sock_poll_take(const ensi_sock_pollfd_t *p, ensign_poll_t *to, size_t n)
{
    bool any = false;

    for (size_t i = 0; i < n; i++) {
        to[i].ready = ensi_sock_ready(p[i].revents);
        any |= to[i].ready != 0;
    }
    return any;
}

/* The sockets in use. GONE ones are closed on the way: who waits here has no loop that knows them. */
static size_t ensi_sock_in_use(ensign_t *c, ensign_poll_t set[ENSIGN_MAX_FDS])
{
    int n = ensign_poll_set(c, set);
    bool gone = false;

    for (int i = 0; i < n; i++) gone |= (set[i].want & ENSIGN_GONE) != 0;
    return (size_t)(gone ? ensign_poll_set(c, set) : n);
}

/* What both waits do: one poll of at most timeout_ms (< 0: until something happens), and one step. *hit: one
 * of extra is ready. OK, INTERRUPTED, or an error. */
static int ensi_sock_turn(ensign_t *c, ensign_poll_t *extra, size_t n, int timeout_ms, bool *hit)
{
    ensi_sock_pollfd_t p[ENSI_SOCK_WAIT_MAX];
    ensign_poll_t set[ENSIGN_MAX_FDS];
    size_t count = ensi_sock_in_use(c, set);
    size_t all = ensi_sock_poll_add(p, ensi_sock_poll_add(p, 0, set, count), extra, n);
    uint64_t now_ms = ensign_now_ms();
    int due = ensi_sock_timer(&c->sockets, now_ms, ensi_client_timer(c, now_ms), false);
    int e;

    if (due >= 0 && (timeout_ms < 0 || due < timeout_ms)) timeout_ms = due;
    *hit = false;
    if (timeout_ms < 0 && all == 0) {
        return ensi_env_fail(&c->env, ENSIGN_E_STATE,
                             "sockets: a wait for ever would never end: no handle is open (or the client has "
                             "CLOSED or FAILED); open one first, or give a time");
    }
    e = ensi_sock_os_poll(p, all, timeout_ms);
    if (e != 0) { /* timers run all the same: else a steady signal would keep them from it */
        (void)ensi_sock_step(c, NULL, 0, ensign_now_ms(), false);
        if (e == ENSI_SOCK_EINTR)
            return ensi_env_fail_native(&c->env, ENSIGN_INTERRUPTED, e,
                                        "sockets: a signal came during ensign_wait; call it again, or stop");
        return ensi_env_fail_native(&c->env, ENSIGN_E_STATE, e,
                                    "sockets: poll of %u descriptors failed (%d); see that those of extra "
                                    "are open", (unsigned)all, e);
    }
    ensi_sock_poll_take(p, set, count);
    *hit = ensi_sock_poll_take(p + count, extra, n);
    return ensi_sock_step(c, set, count, ensign_now_ms(), false);
}

/* Milliseconds from now to the end of a wait that began at `start`; -1: it has none. */
static int ensi_sock_left(uint64_t start, int timeout_ms)
{
    uint64_t gone = ensign_now_ms() - start;

    if (timeout_ms < 0) return -1;
    return gone < (uint64_t)timeout_ms ? timeout_ms - (int)gone : 0;
}

static int ensi_sock_can_wait(ensign_t *c, const char *what)
{
    if (c->io != ENSIGN_IO_CALLER) return ENSIGN_OK;
    return ensi_env_fail(&c->env, ENSIGN_E_STATE,
                         "sockets: %s moves no bytes under ENSIGN_IO_CALLER; move them by ensign_rx_buf and "
                         "ensign_tx_buf, or set io to ENSIGN_IO_SOCKETS",
                         what);
}

/* Does the work that calls have left, and sends it, before the sockets are waited for: what is published
 * leaves at once, and one poll serves both ways. Timers wait until what is here has been read. */
static void ensi_sock_work(ensign_t *c)
{
    if (c->env.work && ensi_client_work(c, ensign_now_ms()))
        ensi_sock_settle(c, &c->sockets, c->env.now_ms);
}

ENSIGN_API int ensign_wait(ensign_t *c, ensign_poll_t *extra, size_t n, int timeout_ms)
{
    const size_t max = ENSI_SOCK_WAIT_MAX - (size_t)ENSIGN_MAX_FDS;
    uint64_t start = ensign_now_ms();
    int rc = ensi_sock_can_wait(c, "ensign_wait");

    if (rc != ENSIGN_OK) return rc;
    if (n > max || (n > 0 && !extra)) {
        return ensi_env_fail(&c->env, ENSIGN_E_ARGUMENT,
                             "sockets: ensign_wait got %lu extra entries at %s; pass an array of at most "
                             "%lu, or poll them with ensign_poll_set in a loop of your own",
                             (unsigned long)n, extra ? "an array" : "NULL", (unsigned long)max);
    }
    for (size_t i = 0; i < n; i++) extra[i].ready = 0;
    for (;;) {
        bool hit;
        int left;

        ensi_sock_work(c); /* a name may be looked up in it, which takes time */
        left = ensi_sock_left(start, timeout_ms);
        /* One turn even with a notice waiting: who takes one notice a wait must not starve the sockets. */
        rc = ensi_sock_turn(c, extra, n, ensign_pending(c, 0) ? 0 : left, &hit);
        if (rc != ENSIGN_OK || hit || ensign_pending(c, 0)) return rc;
        if (left == 0) return ensi_client_timed_out(c, 0);
    }
}

ENSIGN_API int ensign_await(ensign_t *c, uint32_t handle, int timeout_ms, const ensign_notice_t **n)
{
    uint64_t start = ensign_now_ms();
    int rc = ensi_sock_can_wait(c, "ensign_await");

    *n = NULL;
    if (rc == ENSIGN_OK) rc = ensi_client_expects(c, handle);
    if (rc != ENSIGN_OK) return rc;
    while (!ensign_pending(c, handle)) {
        bool hit;
        int left;

        ensi_sock_work(c);
        left = ensi_sock_left(start, timeout_ms);
        rc = ensi_sock_turn(c, NULL, 0, ensign_pending(c, handle) ? 0 : left, &hit);
        if (rc < 0) return rc; /* a signal does not end it */
        if (left == 0 && !ensign_pending(c, handle)) return ensi_client_timed_out(c, handle);
    }
    *n = ensign_next_of(c, handle);
    return ENSIGN_OK;
}

#ifndef ENSIGN_NO_SERVICE
/* What came of the events: an error of the publisher's end, else of its first NACK, else whether time was
 * enough. */
static int ensi_sock_flushed(ensign_t *c, ensign_publisher_t p, uint64_t left, const ensign_error_t *nack)
{
    const ensign_error_t *end = ensi_client_fault(c, p.id);
    if (end || nack->code) ensi_env_copy(&c->env, end ? end : nack);
    else if (left > 0) return ensi_client_timed_out(c, p.id);
    return end ? end->code : nack->code; /* 0: OK */
}

ENSIGN_API int ensign_publisher_flush(ensign_t *c, ensign_publisher_t p, uint32_t timeout_ms)
{
    const ensign_notice_t *n = NULL;
    ensign_error_t nack;
    uint64_t left = 0;
    int rc = ensi_sock_can_wait(c, "ensign_publisher_flush");

    nack.code = 0;
    if (rc == ENSIGN_OK) rc = ensign_publisher_drain(c, p, timeout_ms);
    if (rc == ENSIGN_ENDED) rc = ENSIGN_OK; /* what came of the last events waits to be pulled */
    while (rc == ENSIGN_OK && !ensi_client_fault(c, p.id)) {
        rc = ensign_await(c, p.id, -1, &n);
        if (rc != ENSIGN_OK) return rc;
        if (n->type == ENSIGN_NOTICE_NACK && nack.code == 0) nack = *n->error;
        if (n->type == ENSIGN_NOTICE_DRAINED) left = n->as.drained.left;
        if (n->type == ENSIGN_NOTICE_DRAINED || n->last) break;
    }
    return rc < 0 ? rc : ensi_sock_flushed(c, p, left, &nack);
}
#endif
#endif /* ENSIGN_NO_SOCKETS */

#endif /* ENSIGN_IMPLEMENTED */
#endif /* ENSIGN_IMPLEMENTATION */

/*
BSD 3-Clause License

Copyright (c) 2026, The ensign.h authors

Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this
   list of conditions and the following disclaimer.

2. Redistributions in binary form must reproduce the above copyright notice,
   this list of conditions and the following disclaimer in the documentation
   and/or other materials provided with the distribution.

3. Neither the name of the copyright holder nor the names of its
   contributors may be used to endorse or promote products derived from
   this software without specific prior written permission.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS"
AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE
FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER
CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY,
OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE
OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
*/
