/* refusals.c - a server that refuses every stream, again and again, over sockets
 *
 * Client and server share one thread and one loop: the server's sockets are the extra entries of ensign_wait.
 * Whatever the server says, each handle tells it in one WAITING and goes on trying; when the server takes the
 * streams at last, all of them stand. */
#define _POSIX_C_SOURCE 200809L
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#define PEER_PLAIN
#include "../h2peer.h"

enum { PUBLISHER, SUBSCRIPTION, WATCH, KINDS };
enum { STREAMS_MAX = 4096, TURNS = 100000, WAIT_MS = 20000, ATTEMPTS = 3 };

static const char *const methods[KINDS] = { "/Publish", "/Subscribe", "/Watch" };
static const char *const ready[KINDS] = { "\x1a\x00", "\x12\x00", "\x08\x01" }; /* ready; ready; SERVING */

typedef struct way_t { int status; const char *http, *words; } way_t; /* a gRPC status, or one of HTTP */
static const way_t ways[] = {
    { ENSIGN_GRPC_CANCELLED, NULL, "CANCELLED: not now" },
    { ENSIGN_GRPC_UNKNOWN, NULL, "UNKNOWN: not now" },
    { ENSIGN_GRPC_DEADLINE_EXCEEDED, NULL, "DEADLINE_EXCEEDED: not now" },
    { ENSIGN_GRPC_RESOURCE_EXHAUSTED, NULL, "RESOURCE_EXHAUSTED: not now" },
    { ENSIGN_GRPC_ABORTED, NULL, "ABORTED: not now" },
    { ENSIGN_GRPC_INTERNAL, NULL, "INTERNAL: not now" },
    { ENSIGN_GRPC_UNAVAILABLE, NULL, "UNAVAILABLE: not now" },
    { ENSIGN_GRPC_DATA_LOSS, NULL, "DATA_LOSS: not now" },
    { 0, "403", "HTTP status 403" },
    { 0, "404", "HTTP status 404" },
    { 0, "503", "HTTP status 503" },
};
enum { WAYS = (int)(sizeof ways / sizeof ways[0]) };

static struct {
    int listener, peer;             /* -1: none */
    conn_t conn;
    const way_t *way;               /* NULL: streams are taken */
    stream_t *streams[STREAMS_MAX];
    size_t count, served;
    unsigned refused[KINDS];
} server;
static struct { uint32_t id; unsigned waits, stood; } handles[KINDS];
static ensign_t *client;

/* ------------------------------------------------------------------ the server */
static bool peer_keep(conn_t *c, stream_t *s)
{
    (void)c;
    assert_true(server.count < STREAMS_MAX);
    server.streams[server.count++] = s;
    return true;
}

static void answer(stream_t *s)
{
    int kind = 0;
    while (kind < KINDS && !strstr(peer_field(s, ":path"), methods[kind])) kind++;
    assert_true(kind < KINDS);
    if (!server.way) {
        peer_message(s, ready[kind], 2);
        return;
    }
    server.refused[kind]++;
    if (server.way->http) peer_only(s, server.way->http, "content-type", "text/html", NULL);
    else peer_refuse(s, server.way->status, "not now");
}

static void server_receive(void)
{
    uint8_t bytes[16384];
    ssize_t n;
    if (server.peer < 0) {
        server.peer = accept(server.listener, NULL, NULL);
        assert_true(server.peer >= 0);
        assert_int_equal(fcntl(server.peer, F_SETFL, O_NONBLOCK), 0);
        conn_open(&server.conn, NULL, 0);
        return;
    }
    while ((n = recv(server.peer, bytes, sizeof bytes, 0)) > 0) conn_feed(&server.conn, bytes, (size_t)n);
    if (n == 0 || errno != EAGAIN) fail_msg("the client has left: no refusal of a stream ends a connection");
}

static void server_send(void)
{
    conn_t *c = &server.conn;
    for (; server.served < server.count && server.streams[server.served]->headers; server.served++)
        answer(server.streams[server.served]);
    while (server.peer >= 0 && conn_fill(c, 65536) > 0) {
        ssize_t n = send(server.peer, c->out.p + c->out_at, c->out.len - c->out_at, MSG_NOSIGNAL);
        if (n <= 0) return; /* it goes on in the next turn */
        c->out_at += (size_t)n;
    }
}

/* ------------------------------------------------------------------ the client */
/* A notice of a handle: WAITING with the words of the way, or what tells that it stands. */
static void hear(const ensign_notice_t *n)
{
    int kind = 0;
    if (n->handle == ENSIGN_CLIENT) return;
    while (kind < KINDS && handles[kind].id != n->handle) kind++;
    assert_true(kind < KINDS);
    if (n->type != ENSIGN_NOTICE_WAITING) {
        assert_int_equal(n->type, kind == WATCH ? ENSIGN_NOTICE_HEALTH : ENSIGN_NOTICE_OPEN);
        handles[kind].stood++;
        return;
    }
    handles[kind].waits++;
    if (!server.way || !strstr(n->error->text, server.way->words))
        fail_msg("%s waits: %s", methods[kind], n->error->text);
    assert_true(n->as.waiting.failures >= 1);
}

static void turn(void)
{
    ensign_poll_t extra;
    const ensign_notice_t *n;
    memset(&extra, 0, sizeof extra);
    extra.fd = server.peer < 0 ? server.listener : server.peer;
    extra.want = ENSIGN_READ;
    ensign_wait(client, &extra, 1, WAIT_MS);
    while ((n = ensign_next(client)) != NULL) hear(n);
    if (extra.ready) server_receive();
    server_send();
}

/* Each handle was refused so often, and has told it. */
static bool all_refused(void)
{
    for (int kind = 0; kind < KINDS; kind++)
        if (server.refused[kind] < ATTEMPTS || handles[kind].waits == 0) return false;
    return true;
}

static bool all_stand(void)
{
    for (int kind = 0; kind < KINDS; kind++)
        if (handles[kind].stood == 0) return false;
    return true;
}

static void open_all(void)
{
    static const char *const topics[] = { "weather" };
    ensign_publisher_desc_t p;
    ensign_subscription_desc_t s;
    memset(&p, 0, sizeof p);
    memset(&s, 0, sizeof s);
    p.topic = topics[0];
    s.topics = topics;
    s.topic_count = 1;
    handles[PUBLISHER].id = ensign_publisher_open(client, &p).id;
    handles[SUBSCRIPTION].id = ensign_subscription_open(client, &s).id;
    handles[WATCH].id = ensign_health(client, "", true, NULL).id;
    for (int kind = 0; kind < KINDS; kind++) assert_int_not_equal(handles[kind].id, 0);
}

/* ------------------------------------------------------------------ the test */
static int begin(void **state)
{
    static char endpoint[32];
    struct sockaddr_in a;
    socklen_t len = sizeof a;
    ensign_desc_t d;
    ensign_error_t why;
    (void)state;
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server.listener = socket(AF_INET, SOCK_STREAM, 0);
    server.peer = -1;
    if (bind(server.listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(server.listener, 1) != 0 ||
        getsockname(server.listener, (struct sockaddr *)&a, &len) != 0)
        return -1;
    snprintf(endpoint, sizeof endpoint, "127.0.0.1:%u", (unsigned)ntohs(a.sin_port));
    memset(&d, 0, sizeof d);
    d.endpoint = endpoint;
    d.tls.off = true;
    d.seed = 7;
    d.backoff_min_ms = d.backoff_max_ms = 2;
    return ensign_create(&d, &client, &why);
}

static int end(void **state)
{
    (void)state;
    ensign_destroy(client);
    conn_drop(&server.conn);
    conn_free(&server.conn);
    for (size_t i = 0; i < server.count; i++) stream_free(server.streams[i]);
    if (server.peer >= 0) close(server.peer);
    close(server.listener);
    return 0;
}

static void each_refusal_is_told_once_and_tried_again(void **state)
{
    int turns = 0;
    (void)state;
    open_all();
    for (int i = 0; i < WAYS; i++) {
        server.way = &ways[i];
        memset(server.refused, 0, sizeof server.refused);
        for (int kind = 0; kind < KINDS; kind++) handles[kind].waits = 0;
        while (!all_refused())
            if (++turns > TURNS) fail_msg("%s: a handle gave up, or did not tell", ways[i].words);
            else turn();
        for (int kind = 0; kind < KINDS; kind++) assert_int_equal(handles[kind].waits, 1);
    }
    server.way = NULL;
    while (!all_stand())
        if (++turns > TURNS) fail_msg("the streams are taken now, and one of them does not stand");
        else turn();
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_refusal_is_told_once_and_tried_again, begin, end),
    };
    return cmocka_run_group_tests_name("refusals", tests, NULL, NULL);
}
