/* faults.c - ensignd with its options for tests, and with --strict, each as a client of the library meets it
 *
 * Each test starts a server of its own ($ENSIGND) and ends it, which must end well. Times are waited for,
 * never slept through. */
#define _POSIX_C_SOURCE 200809L
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { WAIT_MS = 20000, ARGS_MAX = 32, ID_BYTES = 4, MIB = 1 << 20 };

static const char keys[] = "{\"projects\":[{\"name\":\"p\",\"keys\":["
                           "{\"client_id\":\"me\",\"client_secret\":\"mine\"}]}]}";
static const char login[] = "{\"client_id\":\"me\",\"client_secret\":\"mine\"}";
static char keys_file[] = "/tmp/ensign-faults-XXXXXX";
static struct { pid_t pid; char endpoint[64], auth[80]; } server;
static struct { pid_t pid; int control; char endpoint[64]; } relay;
static ensign_t *client;
static ensign_ulid_t topic;     /* of "weather" */

/* ------------------------------------------------------------------ the server and its client */
static void exec_server(char *options, int out)
{
    char *args[ARGS_MAX] = { getenv("ENSIGND"), "--memory", "--port=0", "--auth-port=0", "--keys",
                             keys_file };
    int n = 6;

    if (!args[0]) args[0] = "build/ensignd";
    for (char *word = strtok(options, " "); word && n < ARGS_MAX - 1; word = strtok(NULL, " "))
        args[n++] = word;
    dup2(out, STDOUT_FILENO);
    execv(args[0], args);
    _exit(127);
}

static void start(const char *options)
{
    char copy[256], line[256];
    int pipe_fd[2];
    FILE *f;

    snprintf(copy, sizeof copy, "%s", options);
    assert_int_equal(pipe(pipe_fd), 0);
    fflush(NULL);
    server.pid = fork();
    if (server.pid == 0) exec_server(copy, pipe_fd[1]);
    close(pipe_fd[1]);
    f = fdopen(pipe_fd[0], "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    fclose(f);
    assert_int_equal(
        sscanf(line, "ensignd: ready, endpoint %63[^,], auth %79s", server.endpoint, server.auth), 2);
}

static int stop(void **state)
{
    int status = -1;
    (void)state;

    ensign_destroy(client);
    client = NULL;
    if (relay.pid > 0) {
        close(relay.control);   /* which ends it */
        waitpid(relay.pid, NULL, 0);
        relay.pid = 0;
    }
    if (server.pid <= 0) return 0;
    kill(server.pid, SIGTERM);
    if (waitpid(server.pid, &status, 0) != server.pid) return -1;
    server.pid = 0;
    return status;              /* a sanitizer's complaint, too, is a failure */
}

static void join_at(const char *endpoint, uint32_t keepalive_ms, uint32_t keepalive_timeout_ms)
{
    ensign_desc_t d;
    ensign_error_t why;

    memset(&d, 0, sizeof d);
    d.endpoint = endpoint;
    d.keepalive_ms = keepalive_ms;
    d.keepalive_timeout_ms = keepalive_timeout_ms;
    d.auth_url = server.auth;
    d.client_id = "me";
    d.client_secret = "mine";
    d.tls.off = true;
    d.backoff_min_ms = d.backoff_max_ms = 10;
    assert_int_equal(ensign_create(&d, &client, &why), ENSIGN_OK);
}

static void join(void)
{
    join_at(server.endpoint, 0, 0);
}

static const ensign_notice_t *next(uint32_t handle)
{
    const ensign_notice_t *n = NULL;
    int rc = ensign_await(client, handle, WAIT_MS, &n);

    if (rc != ENSIGN_OK) fail_msg("%s: %s", ensign_result_name(rc), ensign_error(client)->text);
    return n;
}

static void is_of_type(const ensign_notice_t *n, ensign_notice_type_t type)
{
    if (n->type != type) fail_msg("%d, not %d: %s", n->type, type, n->error ? n->error->text : "");
}

static ensign_ulid_t make_topic(const char *name)
{
    const ensign_notice_t *n = next(ensign_topic_create(client, name, NULL, NULL).id);
    assert_int_equal(n->type, ENSIGN_NOTICE_TOPIC);
    return n->as.topic->id;
}

static void begin(const char *options)
{
    start(options);
    join();
    topic = make_topic("weather");
}

/* ------------------------------------------------------------------ calls message by message */
static ensign_call_t call_open(const char *method, const char *first, size_t len)
{
    ensign_call_desc_t d;

    memset(&d, 0, sizeof d);
    d.method = method;
    d.request.ptr = (const uint8_t *)first;
    d.request.len = len;
    d.max_send_bytes = 16 * MIB;
    d.send_buffer_bytes = 4 * MIB;
    return ensign_call_open(client, &d);
}

static ensign_slice_t message_of(ensign_call_t k)
{
    const ensign_notice_t *n;

    do n = next(k.id);
    while (n->type == ENSIGN_NOTICE_HEADERS || n->type == ENSIGN_NOTICE_ROOM);
    is_of_type(n, ENSIGN_NOTICE_MESSAGE);
    return n->as.message.bytes;
}

static const ensign_notice_end_t *end_of(ensign_call_t k)
{
    const ensign_notice_t *n;

    do n = next(k.id);
    while (n->type == ENSIGN_NOTICE_HEADERS || n->type == ENSIGN_NOTICE_ROOM);
    assert_int_equal(n->type, ENSIGN_NOTICE_END);
    return &n->as.end;
}

static void ends_with(ensign_call_t k, int status, const char *text)
{
    const ensign_notice_end_t *e = end_of(k);
    assert_int_equal(e->status, status);
    assert_int_equal(e->text.len, strlen(text));
    assert_memory_equal(e->text.ptr, text, e->text.len);
}

/* The next reply of a publish stream; it points into the notice. */
static ensi_pb_publisher_reply_t reply_of(ensign_call_t k)
{
    ensi_pb_publisher_reply_t r;
    ensign_slice_t m = message_of(k);
    assert_true(ensi_pb_decode(ensi_pb_publisher_reply_fields, &r, m.ptr, m.len));
    return r;
}

static ensign_call_t publish_open(void)
{
    ensign_call_t k = call_open("/ensign.v1beta1.Ensign/Publish", "\x12\x04\x0a\x02me", 6);
    assert_true(reply_of(k).has_ready);
    return k;
}

/* PublisherRequest { event { topic_id, event of `len` bytes, local_id } } */
static void publish(ensign_call_t k, ensign_ulid_t to, size_t len, uint32_t number)
{
    uint8_t id[ID_BYTES] = { (uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8),
                             (uint8_t)number };
    size_t inner = ensi_pb_bytes_size(2, 16) + ensi_pb_bytes_size(9, len) + ensi_pb_bytes_size(16, ID_BYTES);
    size_t whole = ensi_pb_bytes_size(1, inner);
    uint8_t *data = calloc(1, len + 1), *message = malloc(whole + 1), *p = message;
    ensign_slice_t s;

    assert_true(data && message);
    if (len >= 2) data[0] = 2 << 3 | 2, data[1] = (uint8_t)(len - 2);   /* Event { data }, if it is short */
    *p++ = 1 << 3 | 2;
    p = ensi_pb_put_varint(p, inner);
    s.ptr = to.b, s.len = sizeof to.b;
    p = ensi_pb_put_bytes(p, 2, s);
    s.ptr = data, s.len = len;
    p = ensi_pb_put_bytes(p, 9, s);
    s.ptr = id, s.len = sizeof id;
    p = ensi_pb_put_bytes(p, 16, s);
    s.ptr = message, s.len = (size_t)(p - message);
    assert_int_equal(s.len, whole);
    assert_int_equal(ensign_call_send(client, k, s, 0), ENSIGN_OK);
    free(message);
    free(data);
}

static uint32_t number_of(ensign_slice_t id)
{
    assert_int_equal(id.len, ID_BYTES);
    return (uint32_t)id.ptr[0] << 24 | (uint32_t)id.ptr[1] << 16 | (uint32_t)id.ptr[2] << 8 | id.ptr[3];
}

static void acked(ensign_call_t k, uint32_t number)
{
    ensi_pb_publisher_reply_t r = reply_of(k);
    assert_true(r.has_ack);
    assert_int_equal(number_of(r.ack.id), number);
}

static void nacked(ensign_call_t k, uint32_t number, int code, const char *text)
{
    ensi_pb_publisher_reply_t r = reply_of(k);
    assert_true(r.has_nack);
    assert_int_equal(number_of(r.nack.id), number);
    assert_int_equal(r.nack.code, code);
    assert_int_equal(r.nack.error.len, strlen(text));
    assert_memory_equal(r.nack.error.ptr, text, r.nack.error.len);
}

static void closes(ensign_call_t k, uint64_t events, uint64_t acks, uint64_t nacks)
{
    ensi_pb_publisher_reply_t r = reply_of(k);
    assert_true(r.has_close_stream);
    assert_int_equal(r.close_stream.events, events);
    assert_int_equal(r.close_stream.acks, acks);
    assert_int_equal(r.close_stream.nacks, nacks);
    ends_with(k, ENSIGN_GRPC_OK, "");
}

/* ------------------------------------------------------------------ the library's own handles */
static ensign_subscription_t subscribe(void)
{
    static const char *const names[] = { "weather" };
    ensign_subscription_desc_t d;
    ensign_subscription_t s;

    memset(&d, 0, sizeof d);
    d.topics = names;
    d.topic_count = 1;
    s = ensign_subscription_open(client, &d);
    assert_int_equal(next(s.id)->type, ENSIGN_NOTICE_OPEN);
    return s;
}

static ensign_publisher_t publisher(bool at_most_once)
{
    ensign_publisher_desc_t d;

    memset(&d, 0, sizeof d);
    d.topic = "weather";
    d.at_most_once = at_most_once;
    return ensign_publisher_open(client, &d);
}

static void put(ensign_publisher_t p, uint64_t tag)
{
    ensign_event_t e;

    memset(&e, 0, sizeof e);
    e.data = ensign_str("sunny");
    e.tag = tag;
    assert_int_equal(ensign_publish(client, p, &e), ENSIGN_OK);
}

static ensign_call_t health(const char *method, const char *service, uint32_t deadline_ms)
{
    static uint8_t request[64];
    ensign_call_desc_t d;

    memset(&d, 0, sizeof d);
    d.method = method;
    d.no_token = d.wait_for_ready = true;
    d.deadline_ms = deadline_ms;
    request[0] = 1 << 3 | 2;
    request[1] = (uint8_t)strlen(service);
    memcpy(request + 2, service, strlen(service));
    d.request.ptr = request;
    d.request.len = 2 + strlen(service);
    return ensign_call_open(client, &d);
}

/* Where the server cuts the connection that is the reason. */
static bool waits(const ensign_notice_t *n)
{
    if (n->type != ENSIGN_NOTICE_WAITING) return false;
    assert_non_null(n->error);
    assert_int_equal(n->error->code, ENSIGN_E_CLOSED);
    return true;
}

/* An event that is here is given, though the connection may be gone by now. */
static void delivered(ensign_subscription_t s)
{
    const ensign_notice_t *n;
    do n = next(s.id);
    while (waits(n));
    is_of_type(n, ENSIGN_NOTICE_EVENT);
}

static const ensign_notice_t *answer(ensign_publisher_t p)
{
    const ensign_notice_t *n;
    do n = next(p.id);
    while (n->type == ENSIGN_NOTICE_OPEN || n->type == ENSIGN_NOTICE_ROOM || waits(n));
    return n;
}

/* ------------------------------------------------------------------ plain sockets */
static int dial(const char *address)
{
    struct sockaddr_in a;
    const char *colon = strrchr(address, ':');
    struct timeval limit = { WAIT_MS / 1000, 0 };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* All up to the peer's end, or to `cap`. */
static size_t read_all(int fd, char *out, size_t cap)
{
    size_t len = 0;
    ssize_t n;

    while (len < cap && (n = recv(fd, out + len, cap - len, 0)) > 0) len += (size_t)n;
    return len;
}

/* One exchange with the auth service; the status, and in `out` all of the answer, as text. */
static int http(const char *method, const char *path, const char *body, char *out, size_t cap)
{
    char request[512];
    int status = 0, fd = dial(server.auth), n;
    size_t len;

    n = snprintf(request, sizeof request,
                 "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                 method, path, strlen(body), body);
    assert_int_equal(send(fd, request, (size_t)n, MSG_NOSIGNAL), n);
    len = read_all(fd, out, cap - 1);
    out[len] = '\0';
    close(fd);
    assert_int_equal(sscanf(out, "HTTP/1.1 %d", &status), 1);
    return status;
}

static void has(const char *text, const char *words)
{
    if (!strstr(text, words)) fail_msg("no \"%s\" in: %s", words, text);
}

/* A client's first bytes, an empty SETTINGS, and so many PINGs. */
static void greet(int fd, int pings)
{
    static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    static const char ping[] = "\0\0\x08\6\0\0\0\0\0" "pingpong";

    assert_int_equal(send(fd, hello, sizeof hello - 1, MSG_NOSIGNAL), sizeof hello - 1);
    for (int i = 0; i < pings; i++)
        assert_int_equal(send(fd, ping, sizeof ping - 1, MSG_NOSIGNAL), sizeof ping - 1);
}

/* ------------------------------------------------------------------ a relay that stops relaying */
/* A process that passes bytes on between clients and the server. At the byte MUTE of the control socket it
 * makes all connections that it has mute: they stay open, and what comes is read and dropped. At CUT it closes
 * them, and takes no other one until OPEN. It answers each such byte, and ends with that socket. */
enum { RELAY_PAIRS = 16, RELAY_MUTE = 'm', RELAY_CUT = 'c', RELAY_OPEN = 'o' };
typedef struct { int fd[2]; bool mute; } relay_pair_t;

static bool relay_move(const relay_pair_t *pair, int from)
{
    char bytes[16384];
    ssize_t n = recv(pair->fd[from], bytes, sizeof bytes, 0), at = 0, sent;
    while (!pair->mute && at < n) {
        sent = send(pair->fd[!from], bytes + at, (size_t)(n - at), MSG_NOSIGNAL);
        if (sent <= 0) return false;
        at += sent;
    }
    return n > 0;
}

static void relay_obey(char byte, relay_pair_t *pairs, int *count)
{
    for (int i = 0; i < *count; i++) {
        pairs[i].mute = true;
        if (byte != RELAY_CUT) continue;
        close(pairs[i].fd[0]);
        close(pairs[i].fd[1]);
    }
    if (byte == RELAY_CUT) *count = 0;
}

static void relay_run(int listener, int control)
{
    relay_pair_t pairs[RELAY_PAIRS];
    struct pollfd set[2 + 2 * RELAY_PAIRS];
    char byte = RELAY_OPEN;
    int count = 0;
    for (;;) {
        set[0].fd = control, set[1].fd = byte == RELAY_CUT ? -1 : listener;
        for (int i = 0; i < 2 * count; i++) set[2 + i].fd = pairs[i / 2].fd[i % 2];
        for (int i = 0; i < 2 + 2 * count; i++) set[i].events = POLLIN, set[i].revents = 0;
        if (poll(set, (nfds_t)(2 + 2 * count), -1) < 0) _exit(1);
        for (int i = 2 * count - 1; i >= 0; i--) {      /* a pair that goes is replaced by the last one */
            relay_pair_t *pair = &pairs[i / 2];
            if (!set[2 + i].revents || relay_move(pair, i % 2)) continue;
            close(pair->fd[0]);
            close(pair->fd[1]);
            *pair = pairs[--count];
            i -= i % 2;
        }
        if (set[0].revents) {
            if (recv(control, &byte, 1, 0) != 1) _exit(0);
            if (byte != RELAY_OPEN) relay_obey(byte, pairs, &count);
            if (send(control, &byte, 1, 0) != 1) _exit(0);
        }
        if (!set[1].revents || count == RELAY_PAIRS) continue;
        pairs[count].fd[0] = accept(listener, NULL, NULL);
        pairs[count].fd[1] = dial(server.endpoint);
        pairs[count++].mute = false;
    }
}

static void relay_start(void)
{
    struct sockaddr_in a;
    socklen_t len = sizeof a;
    int control[2], listener = socket(AF_INET, SOCK_STREAM, 0);

    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(listener, RELAY_PAIRS), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
    snprintf(relay.endpoint, sizeof relay.endpoint, "127.0.0.1:%u", (unsigned)ntohs(a.sin_port));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, control), 0);
    fflush(NULL);
    relay.pid = fork();
    if (relay.pid == 0) {
        close(control[1]);
        relay_run(listener, control[0]);
    }
    close(listener);
    close(control[0]);
    relay.control = control[1];
}

static void relay_tell(char byte)
{
    assert_int_equal(send(relay.control, &byte, 1, 0), 1);
    assert_int_equal(recv(relay.control, &byte, 1, 0), 1);
}

/* The server, the relay before it, and a client of the relay. */
static void begin_relayed(uint32_t keepalive_ms)
{
    start("");
    relay_start();
    join_at(relay.endpoint, keepalive_ms, 300);
    topic = make_topic("weather");
}

static const ensign_notice_t *past_waiting(uint32_t handle)
{
    const ensign_notice_t *n;
    do n = next(handle);
    while (n->type == ENSIGN_NOTICE_WAITING || n->type == ENSIGN_NOTICE_OPEN);
    return n;
}

static void keepalive_leaves_a_relay_that_stopped(void **state)
{
    ensign_publisher_t p;
    ensign_subscription_t s;
    const ensign_notice_t *n;
    ensign_stats_t stats;
    (void)state;

    begin_relayed(1000);
    s = subscribe();
    p = publisher(false);
    put(p, 1);
    assert_int_equal(past_waiting(p.id)->type, ENSIGN_NOTICE_ACK);
    delivered(s);
    relay_tell(RELAY_MUTE);
    put(p, 2);                                  /* the relay takes it, the server never sees it */
    n = past_waiting(p.id);
    is_of_type(n, ENSIGN_NOTICE_ACK);
    assert_int_equal(n->as.ack.tag, 2);
    is_of_type(past_waiting(s.id), ENSIGN_NOTICE_GAP);
    do n = next(ENSIGN_CLIENT);
    while (n->type != ENSIGN_NOTICE_DISCONNECTED);
    assert_int_equal(n->error->code, ENSIGN_E_STALLED);
    has(n->error->text, "keepalive_timeout_ms (300)");
    assert_int_equal(ensign_stats(client, ENSIGN_CLIENT, &stats), ENSIGN_OK);
    assert_int_equal(stats.reconnects, 1);
    assert_int_equal(stats.resent, 1);
}

/* The status that a question for the server's health ends with. */
static int asked(uint32_t deadline_ms)
{
    ensign_call_t k = health("/grpc.health.v1.Health/Check", "", deadline_ms);
    const ensign_notice_t *n;
    do n = next(k.id);
    while (!n->last);
    return n->as.end.status;
}

static void calls_leave_a_relay_that_stopped(void **state)
{
    ensign_stats_t stats;
    int failed = -1, status;
    (void)state;

    begin_relayed(ENSIGN_FOREVER);
    assert_int_equal(asked(5000), ENSIGN_GRPC_OK);
    relay_tell(RELAY_MUTE);
    do status = asked(500);
    while (++failed < 12 && status != ENSIGN_GRPC_OK);
    assert_true(failed >= 2 && failed < 12);    /* all twelve failed before there was a doubt */
    assert_int_equal(ensign_stats(client, ENSIGN_CLIENT, &stats), ENSIGN_OK);
    assert_int_equal(stats.reconnects, 1);
}

/* ------------------------------------------------------------------ nacks and late acks */
static void every_third_event_is_refused_in_its_turn(void **state)
{
    ensign_subscription_t s;
    ensign_publisher_t p;
    (void)state;

    begin("--nack-every 3 --nack-code TOPIC_ARCHIVED");
    s = subscribe();
    p = publisher(false);
    for (uint64_t tag = 1; tag <= 9; tag++) put(p, tag);
    for (uint64_t tag = 1; tag <= 9; tag++) {
        const ensign_notice_t *n = answer(p);
        if (tag % 3 == 0) {
            assert_int_equal(n->type, ENSIGN_NOTICE_NACK);
            assert_int_equal(n->as.nack.tag, tag);
            assert_int_equal(n->as.nack.code, ENSIGN_NACK_TOPIC_ARCHIVED);
            assert_int_equal(n->as.nack.stored, ENSIGN_STORED_NO);
        } else {
            assert_int_equal(n->type, ENSIGN_NOTICE_ACK);
            assert_int_equal(n->as.ack.tag, tag);
        }
    }
    for (int i = 0; i < 6; i++) delivered(s);
    put(p, 10);         /* what comes next is this one, and none of those that were refused */
    assert_int_equal(answer(p)->as.ack.tag, 10);
    delivered(s);
    assert_false(ensign_pending(client, s.id));
}

static void each_nack_carries_its_code_and_words(void **state)
{
    ensign_call_t k;
    (void)state;

    begin("--nack-every=1 --nack-code=101");
    k = publish_open();
    publish(k, topic, 5, 7);
    nacked(k, 7, ENSIGN_NACK_TIMEOUT, "client deadline exceeded");
    ensign_call_half_close(client, k);
    closes(k, 0, 0, 1);
}

static void a_held_back_ack_comes_late_and_its_event_does_not(void **state)
{
    enum { DELAY_MS = 1000 };
    ensign_subscription_t s;
    ensign_publisher_t p;
    uint64_t from;
    (void)state;

    begin("--ack-delay 1000");
    s = subscribe();
    p = publisher(false);
    assert_int_equal(next(p.id)->type, ENSIGN_NOTICE_OPEN);
    from = ensign_now_ms();
    put(p, 1);
    delivered(s);
    assert_true(ensign_now_ms() - from < DELAY_MS);
    assert_false(ensign_pending(client, p.id));
    assert_int_equal(answer(p)->type, ENSIGN_NOTICE_ACK);
    assert_true(ensign_now_ms() - from >= DELAY_MS);
}

static void all_acks_come_before_close_stream(void **state)
{
    ensign_call_t k;
    (void)state;

    begin("--ack-delay 300 --nack-every 4");
    k = publish_open();
    for (uint32_t i = 1; i <= 5; i++) publish(k, topic, 5, i);
    ensign_call_half_close(client, k);
    for (uint32_t i = 1; i <= 3; i++) acked(k, i);
    nacked(k, 4, ENSIGN_NACK_INTERNAL, "internal error, please wait and try again");
    acked(k, 5);
    closes(k, 4, 4, 1);
}

static void strict_loses_acks_at_half_close_and_stores_the_events(void **state)
{
    ensign_subscription_t s;
    ensign_call_t k;
    (void)state;

    begin("--strict --ack-delay 60000");
    s = subscribe();
    k = publish_open();
    for (uint32_t i = 1; i <= 5; i++) publish(k, topic, 5, i);
    ensign_call_half_close(client, k);
    closes(k, 5, 0, 0);
    for (int i = 0; i < 5; i++) delivered(s);
}

/* ------------------------------------------------------------------ cut connections */
static void cut_behind_events_and_sent_again(void **state)
{
    ensign_publisher_t p;
    ensign_stats_t stats;
    (void)state;

    begin("--cut-after-events 3 --cut-first 1");
    p = publisher(false);
    for (uint64_t tag = 1; tag <= 5; tag++) put(p, tag);
    for (uint64_t tag = 1; tag <= 5; tag++) {
        const ensign_notice_t *n = answer(p);
        assert_int_equal(n->type, ENSIGN_NOTICE_ACK);
        assert_int_equal(n->as.ack.tag, tag);
    }
    assert_int_equal(ensign_stats(client, p.id, &stats), ENSIGN_OK);
    assert_int_equal(stats.resent, 2);          /* three acks were whole, two events have to go again */
    assert_int_equal(ensign_stats(client, ENSIGN_CLIENT, &stats), ENSIGN_OK);
    assert_int_equal(stats.reconnects, 1);
}

static void cut_behind_events_and_told_maybe(void **state)
{
    ensign_publisher_t p;
    (void)state;

    begin("--cut-after-events 1 --cut-first 1");
    p = publisher(true);
    put(p, 1);
    put(p, 2);
    assert_int_equal(answer(p)->type, ENSIGN_NOTICE_ACK);
    assert_int_equal(answer(p)->type, ENSIGN_NOTICE_NACK);
    put(p, 3);
    assert_int_equal(answer(p)->as.ack.tag, 3);
}

static void deliveries_count_too(void **state)
{
    ensign_subscription_t s;
    ensign_call_t k;
    const ensign_notice_t *n;
    (void)state;

    begin("--cut-after-events 4 --cut-first 1");
    s = subscribe();
    k = publish_open();
    publish(k, topic, 5, 1);
    acked(k, 1);
    delivered(s);
    publish(k, topic, 5, 2);
    acked(k, 2);
    delivered(s);
    assert_int_equal(end_of(k)->status, ENSIGN_GRPC_UNAVAILABLE);
    do n = next(s.id);
    while (n->type == ENSIGN_NOTICE_GAP || waits(n));
    assert_int_equal(n->type, ENSIGN_NOTICE_OPEN);
    assert_int_equal(n->as.open.times, 2);
}

static void cut_at_the_very_byte(void **state)
{
    char bytes[256];
    int fd;
    (void)state;

    start("--cut-after-bytes 20 --cut-first 1");
    fd = dial(server.endpoint);
    greet(fd, 0);
    assert_int_equal(read_all(fd, bytes, sizeof bytes), 20);
    close(fd);
    fd = dial(server.endpoint);         /* the second one lives */
    greet(fd, 10);
    assert_int_equal(read_all(fd, bytes, 100), 100);
    close(fd);
}

static void the_library_goes_on_after_cuts_anywhere(void **state)
{
    static const char *const options[] = { "--cut-first 3 --cut-after-bytes 9",
                                           "--cut-first 3 --cut-after-bytes 30",
                                           "--cut-first 3 --cut-after-bytes 60",
                                           "--cut-first 3 --cut-after-bytes 120",
                                           "--cut-first 3 --cut-after-bytes 300" };
    (void)state;

    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        const ensign_notice_t *n;
        ensign_publisher_t p;
        start(options[i]);
        join();
        n = next(ensign_topic_ensure(client, "weather", NULL).id); /* it is sent again after each cut */
        is_of_type(n, ENSIGN_NOTICE_TOPIC);
        p = publisher(false);
        for (uint64_t tag = 1; tag <= 20; tag++) put(p, tag);
        for (uint64_t tag = 1; tag <= 20; tag++) assert_int_equal(answer(p)->as.ack.tag, tag);
        do n = next(ENSIGN_CLIENT);
        while (n->type == ENSIGN_NOTICE_CONNECTED);
        is_of_type(n, ENSIGN_NOTICE_DISCONNECTED);
        assert_int_equal(stop(NULL), 0);
    }
}

/* ------------------------------------------------------------------ the auth service */
static void refused_logins_are_final_for_a_client(void **state)
{
    const ensign_notice_t *n;
    (void)state;

    start("--refuse-auth=1");
    join();
    n = next(ensign_topic_list(client, NULL).id);
    assert_int_equal(n->type, ENSIGN_NOTICE_END);
    assert_int_equal(n->error->code, ENSIGN_E_CREDENTIALS);
    ensign_destroy(client);
    join();             /* the second login is not refused */
    assert_int_equal(next(ensign_topic_create(client, "weather", NULL, NULL).id)->type, ENSIGN_NOTICE_TOPIC);
}

static void refused_for_a_while_is_tried_again(void **state)
{
    char text[4096];
    (void)state;

    start("--refuse-auth=3 --refuse-code 503");
    assert_int_equal(http("POST", "/v1/refresh", "{}", text, sizeof text), 503);
    join();
    assert_int_equal(next(ensign_topic_ensure(client, "weather", NULL).id)->type, ENSIGN_NOTICE_TOPIC);
}

static void refused_always(void **state)
{
    char text[4096];
    (void)state;

    start("--refuse-auth");
    for (int i = 0; i < 3; i++)
        assert_int_equal(http("POST", "/v1/authenticate", login, text, sizeof text), 403);
    has(text, "{\"success\":false,\"error\":\"invalid credentials\"}");
}

static const char *fetch_token(void)
{
    static char text[4096], header[4096];
    char *token, *end;

    assert_int_equal(http("POST", "/v1/authenticate", login, text, sizeof text), 200);
    token = strstr(text, "\"access_token\":\"");
    assert_non_null(token);
    token += strlen("\"access_token\":\"");
    end = strchr(token, '"');
    assert_non_null(end);
    *end = '\0';
    snprintf(header, sizeof header, "Bearer %s", token);
    return header;
}

static ensign_call_t open_with(const char *method, const char *token, const char *first, size_t len)
{
    ensign_call_desc_t d;
    ensign_header_t h;

    memset(&d, 0, sizeof d);
    memset(&h, 0, sizeof h);
    h.key = "authorization";
    h.value = ensign_str(token);
    d.method = method;
    d.metadata = &h;
    d.metadata_count = 1;
    d.no_token = true;
    d.request.ptr = (const uint8_t *)first;
    d.request.len = len;
    return ensign_call_open(client, &d);
}

static void a_token_expires_and_its_streams_go_on(void **state)
{
    const ensign_notice_end_t *e;
    const char *token;
    ensign_call_t k, list;
    uint32_t number = 0;
    uint64_t from = ensign_now_ms();
    (void)state;

    begin("--token-life 3");         /* whole seconds on the clock: it lives two to three */
    token = fetch_token();
    k = open_with("/ensign.v1beta1.Ensign/Publish", token, "\x12\x04\x0a\x02me", 6);
    assert_true(reply_of(k).has_ready);
    do {
        publish(k, topic, 5, ++number);
        acked(k, number);
        list = open_with("/ensign.v1beta1.Ensign/ListTopics", token, "", 0);
        ensign_call_send(client, list, ensign_str(""), 0);
        ensign_call_half_close(client, list);
        do {
            const ensign_notice_t *n = next(list.id);
            e = n->type == ENSIGN_NOTICE_END ? &n->as.end : NULL;
        } while (!e);
    } while (e->status == ENSIGN_GRPC_OK && ensign_now_ms() - from < WAIT_MS);
    assert_int_equal(e->status, ENSIGN_GRPC_UNAUTHENTICATED);
    assert_memory_equal(e->text.ptr, "invalid credentials", e->text.len);
    publish(k, topic, 5, ++number);
    acked(k, number);
}

/* ------------------------------------------------------------------ health, maintenance, what is public */
/* HealthCheckResponse.status; 0 is not on the wire */
static void says(ensign_call_t k, int status)
{
    ensign_slice_t m = message_of(k);
    assert_int_equal(m.len, status ? 2 : 0);
    if (status) assert_int_equal(m.ptr[1], status);
}

static void health_check_and_watch(void **state)
{
    static const char check[] = "/grpc.health.v1.Health/Check", watch[] = "/grpc.health.v1.Health/Watch";
    ensign_call_t k, last;
    (void)state;

    start("");
    join();
    k = health(check, "default", 0);
    ensign_call_half_close(client, k);
    says(k, 1);
    ends_with(k, ENSIGN_GRPC_OK, "");
    k = health(check, "nobody", 0);
    ensign_call_half_close(client, k);
    says(k, 0);
    ends_with(k, ENSIGN_GRPC_OK, "");
    k = health(watch, "nobody", 0);
    says(k, 3);
    last = health(watch, "", 0);
    says(last, 1);
    k = health(watch, "default", 200);
    says(k, 1);
    assert_int_equal(end_of(k)->status, ENSIGN_GRPC_DEADLINE_EXCEEDED);
    kill(server.pid, SIGTERM);
    says(last, 2);
    assert_int_equal(end_of(last)->status, ENSIGN_GRPC_UNAVAILABLE);
}

static void maintenance_lets_only_status_and_health_through(void **state)
{
    static const char refused[] = "the Ensign server is currently in maintenance mode";
    const ensign_notice_t *n;
    ensign_call_t k;
    char text[4096];
    (void)state;

    start("--maintenance --auth-maintenance");
    join();
    n = next(ensign_status(client, NULL).id);
    assert_int_equal(n->type, ENSIGN_NOTICE_STATUS);
    assert_int_equal(n->as.status.state, ENSIGN_SERVICE_MAINTENANCE);
    k = health("/grpc.health.v1.Health/Watch", "", 0);
    says(k, 1);
    k = health("/grpc.health.v1.Health/Check", "", 0);
    ensign_call_half_close(client, k);
    says(k, 1);
    k = open_with("/ensign.v1beta1.Ensign/ListTopics", "Bearer none", "", 0);
    ends_with(k, ENSIGN_GRPC_UNAVAILABLE, refused);
    k = open_with("/ensign.v1beta1.Ensign/Publish", "Bearer none", "", 0);
    ends_with(k, ENSIGN_GRPC_UNAVAILABLE, refused);
    assert_int_equal(http("GET", "/v1/status", "", text, sizeof text), 503);
    has(text, "{\"status\":\"maintenance\",\"uptime\":\"");
}

static void the_auth_service_tells_what_is_public(void **state)
{
    char text[4096], wanted[256];
    (void)state;

    start("");
    assert_int_equal(http("GET", "/v1/status", "", text, sizeof text), 200);
    has(text, "{\"status\":\"ok\",\"uptime\":\"");
    assert_null(strstr(text, "X-RateLimit"));
    assert_int_equal(http("GET", "/.well-known/jwks.json", "", text, sizeof text), 200);
    has(text, "{\"keys\":[{\"kty\":\"RSA\",\"alg\":\"RS256\",\"use\":\"sig\",\"kid\":\"");
    assert_int_equal(http("GET", "/.well-known/openid-configuration", "", text, sizeof text), 200);
    snprintf(wanted, sizeof wanted, "{\"issuer\":\"%s/\",\"jwks_uri\":\"%s/.well-known/jwks.json\"",
             server.auth, server.auth);
    has(text, wanted);
}

static void strict_limits_the_rate_of_the_auth_service(void **state)
{
    char text[4096];
    int limited = 0;
    (void)state;

    start("--strict");
    assert_int_equal(http("GET", "/v1/status", "", text, sizeof text), 200);
    has(text, "X-RateLimit-Limit: 30\r\n");
    has(text, "X-RateLimit-Remaining: 29\r\n");
    has(text, "X-RateLimit-Reset: 1\r\n");
    for (int i = 0; i < 300 && !limited; i++)
        limited = http("GET", "/v1/status", "", text, sizeof text) == 429 ? i : 0;
    assert_true(limited >= 29);
    has(text, "X-RateLimit-Remaining: 0\r\n");
    has(text, "{\"success\":false,\"error\":\"rate limit reached: too many requests\"}");
    assert_int_equal(http("GET", "/healthz", "", text, sizeof text), 200);      /* probes are free */
}

/* ------------------------------------------------------------------ strict, and not */
static void too_large_a_message(const char *options, bool strict)
{
    enum { FRAMING = 35 };      /* around `event`, of more than 2 MiB, in a PublisherRequest */
    ensign_call_t k;

    begin(options);
    k = publish_open();
    publish(k, topic, 4 * MIB - FRAMING, 1);
    acked(k, 1);
    publish(k, topic, 4 * MIB - FRAMING + 1, 2);
    if (strict) {
        ends_with(k, ENSIGN_GRPC_RESOURCE_EXHAUSTED,
                  "grpc: received message larger than max (4194305 vs. 4194304)");
        return;
    }
    nacked(k, 2, ENSIGN_NACK_MAX_EVENT_SIZE_EXCEEDED, "maximum event size has been exceeded");
    publish(k, topic, 5, 3);
    acked(k, 3);
    publish(k, topic, 8 * MIB, 4);
    assert_int_equal(end_of(k)->status, ENSIGN_GRPC_RESOURCE_EXHAUSTED);
}

static void a_message_too_large_is_nacked(void **state)
{
    (void)state;
    too_large_a_message("", false);
}

static void strict_ends_the_stream_of_a_message_too_large(void **state)
{
    (void)state;
    too_large_a_message("--strict", true);
}

static void a_topic_made_later_is_taken(void **state)
{
    ensign_ulid_t later;
    ensign_call_t k, chosen;
    (void)state;

    begin("");
    k = publish_open();
    chosen = call_open("/ensign.v1beta1.Ensign/Publish", "\x12\x09\x12\x07weather", 11);
    assert_true(reply_of(chosen).has_ready);
    for (int i = 0; i < 20; i++) {      /* more than a byte of bits */
        char name[16];
        snprintf(name, sizeof name, "later-%d", i);
        later = make_topic(name);
    }
    publish(k, later, 5, 1);
    acked(k, 1);
    publish(chosen, later, 5, 2);
    nacked(chosen, 2, ENSIGN_NACK_TOPIC_UNKNOWN, "topic unknown or unhandled");
    publish(k, topic, 5, 3);
    acked(k, 3);
    ensign_call_half_close(client, k);
    {
        ensi_pb_publisher_reply_t r = reply_of(k);
        assert_true(r.has_close_stream);
        assert_int_equal(r.close_stream.topics, 2);
    }
}

/* A flush tells what came of the events, of those too that were answered before it was asked for. */
static void a_flush_tells_the_first_nack(void **state)
{
    ensign_publisher_t p;
    ensign_event_t e;
    (void)state;

    begin("");
    memset(&e, 0, sizeof e);
    e.topic = "nowhere";
    p = publisher(false);
    put(p, 1);
    assert_int_equal(ensign_publisher_flush(client, p, WAIT_MS), ENSIGN_OK);
    assert_int_equal(ensign_publish(client, p, &e), ENSIGN_OK);
    put(p, 2);
    assert_int_equal(ensign_publisher_flush(client, p, WAIT_MS), ENSIGN_E_NACK);
    assert_int_equal(ensign_error(client)->native, ENSIGN_NACK_TOPIC_UNKNOWN);
    assert_int_equal(ensign_publish(client, p, &e), ENSIGN_OK);
    assert_int_equal(ensign_close(client, p.id, WAIT_MS), ENSIGN_OK);
    while (ensign_publisher_drain(client, p, WAIT_MS) == ENSIGN_OK)
        assert_int_equal(ensign_wait(client, NULL, 0, WAIT_MS), ENSIGN_OK);
    assert_int_equal(ensign_publisher_flush(client, p, WAIT_MS), ENSIGN_E_NACK);
    p = publisher(false);               /* the END of one that closes is left to be pulled */
    put(p, 3);
    assert_int_equal(ensign_close(client, p.id, WAIT_MS), ENSIGN_OK);
    assert_int_equal(ensign_publisher_flush(client, p, WAIT_MS), ENSIGN_OK);
    is_of_type(next(p.id), ENSIGN_NOTICE_END);
}

static void strict_fixes_the_topics_when_a_stream_opens(void **state)
{
    ensign_call_t k;
    (void)state;

    begin("--strict");
    k = publish_open();
    publish(k, make_topic("later"), 5, 1);
    nacked(k, 1, ENSIGN_NACK_TOPIC_UNKNOWN, "topic unknown or unhandled");
}

/* Subscription and event go out in one piece. The first event that comes is of one byte if that one was
   delivered, else of two. */
static size_t first_delivered(const char *options)
{
    ensi_pb_subscribe_reply_t r;
    ensign_call_t k, s;
    ensign_slice_t m;

    begin(options);
    k = publish_open();
    s = call_open("/ensign.v1beta1.Ensign/Subscribe", "\x1a\x09\x12\x07weather", 11);
    publish(k, topic, 1, 1);
    acked(k, 1);
    publish(k, topic, 2, 2);
    acked(k, 2);
    do {
        m = message_of(s);
        assert_true(ensi_pb_decode(ensi_pb_subscribe_reply_fields, &r, m.ptr, m.len));
    } while (!r.has_event);
    return r.event.event.len;
}

static void a_subscriber_is_registered_before_ready(void **state)
{
    (void)state;
    assert_int_equal(first_delivered(""), 1);
}

static void strict_registers_a_subscriber_behind_ready(void **state)
{
    (void)state;
    if (getenv("STORE_SEED")) skip();   /* a log that is late commits the event behind the registration */
    assert_int_equal(first_delivered("--strict"), 2);
}

static void strict_drops_acks_that_nobody_reads(void **state)
{
    enum { EVENTS = 20000, AT_ONCE = 1000, KEPT = 16384, ON_THE_WAY = 3000 };
    ensi_pb_publisher_reply_t r;
    ensign_subscription_t s;
    ensign_call_t k;
    uint32_t acks = 0, last = 0;
    (void)state;

    begin("--strict");
    s = subscribe();
    k = publish_open();
    for (uint32_t i = 1; i <= EVENTS; i++) {
        publish(k, topic, 5, i);
        for (int n = 0; i % AT_ONCE == 0 && n < AT_ONCE; n++)
            delivered(s);
    }
    ensign_call_half_close(client, k);
    while ((r = reply_of(k)).has_ack) {
        assert_true(number_of(r.ack.id) > last);
        last = number_of(r.ack.id);
        acks++;
    }
    assert_true(r.has_close_stream);
    assert_int_equal(r.close_stream.events, EVENTS);
    assert_int_equal(r.close_stream.acks, acks);
    assert_in_range(acks, KEPT, KEPT + ON_THE_WAY);
}

static void strict_sends_away_who_pings_too_often(void **state)
{
    static const uint8_t goaway[] = { 0, 0, 22, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11 };
    static const char reason[] = "too_many_pings";
    const size_t tail = sizeof goaway + sizeof reason - 1;
    char bytes[512];
    size_t len;
    int fd;
    (void)state;

    start("--strict");
    fd = dial(server.endpoint);
    greet(fd, 4);
    len = read_all(fd, bytes, sizeof bytes);    /* up to the end: the connection is closed behind it */
    assert_true(len > tail && len < sizeof bytes);
    assert_memory_equal(bytes + len - tail, goaway, sizeof goaway);
    assert_memory_equal(bytes + len - sizeof reason + 1, reason, sizeof reason - 1);
    close(fd);
    fd = dial(server.endpoint);
    greet(fd, 3);                               /* three are fine, and answered */
    assert_int_equal(read_all(fd, bytes, 94), 94);
    assert_int_equal(recv(fd, bytes, 1, MSG_DONTWAIT), -1);
    close(fd);
}

/* ------------------------------------------------------------------ a first address that is of no use */
typedef enum { CLOSES, BABBLES, MUTE, SWALLOWS, USELESS } useless_t;
enum { USELESS_MS = 6000, HELD = 16 };  /* of connect_timeout_ms and auth_timeout_ms */

static uint16_t port_of(const char *address)
{
    return (uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10);
}

/* 127.0.0.2, the same port. One that swallows SYNs has a full queue: held[] are the connections in it. */
static int useless_listener(useless_t how, uint16_t port, int held[HELD])
{
    struct sockaddr_in a;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
    a.sin_port = htons(port);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, how == SWALLOWS ? 0 : HELD), 0);
    for (int i = 0; i < HELD; i++) held[i] = -1;
    for (int i = 0; how == SWALLOWS && i < HELD; i++) {
        held[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(held[i], (struct sockaddr *)&a, sizeof a);
    }
    return fd;
}

/* What it does with a connection. One that is mute is left to the kernel. */
static void be_useless(useless_t how, int fd, int held[HELD])
{
    static const char babble[] = "SSH-2.0-OpenSSH_9.2p1\r\n";
    int i = 0, peer = accept(fd, NULL, NULL);

    assert_true(peer >= 0);
    if (how == CLOSES) {
        close(peer);
        return;
    }
    assert_int_equal(send(peer, babble, sizeof babble - 1, MSG_NOSIGNAL), sizeof babble - 1);
    while (i < HELD && held[i] != -1) i++;
    assert_true(i < HELD);
    held[i] = peer;
}

/* Answers RESOLVE: the link that is tested goes to the useless address first. */
static void resolve(int tested)
{
    static const char *const addresses[] = { "127.0.0.2", "127.0.0.1" };
    for (int link = 0; link < ENSIGN_MAX_LINKS; link++) {
        bool both = link == tested;
        ensign_link_t l;
        ensign_link(client, link, &l);
        if (l.todo != ENSIGN_LINK_RESOLVE) continue;
        assert_int_equal(
            ensign_resolved(client, link, l.attempt, addresses + (both ? 0 : 1), both ? 2 : 1, 0), ENSIGN_OK);
    }
}

static void join_by_name(void)
{
    char endpoint[64], auth[64];
    ensign_desc_t d;
    ensign_error_t why;

    memset(&d, 0, sizeof d);
    snprintf(endpoint, sizeof endpoint, "rpc.example:%u", (unsigned)port_of(server.endpoint));
    snprintf(auth, sizeof auth, "http://auth.example:%u", (unsigned)port_of(server.auth));
    d.endpoint = endpoint;
    d.auth_url = auth;
    d.client_id = "me";
    d.client_secret = "mine";
    d.tls.off = d.allow_plaintext_token = true;
    d.io = ENSIGN_IO_SOCKETS_NO_DNS;
    d.connect_timeout_ms = d.auth_timeout_ms = USELESS_MS;
    assert_int_equal(ensign_create(&d, &client, &why), ENSIGN_OK);
}

/* A request is answered within half of the time, and no notice tells of the first address. */
static void second_serves(int link, useless_t how)
{
    const ensign_notice_t *n = NULL;
    ensign_poll_t extra;
    int held[HELD];
    uint64_t began;
    uint32_t request;

    start("");
    memset(&extra, 0, sizeof extra);
    extra.want = how == CLOSES || how == BABBLES ? ENSIGN_READ : 0;
    extra.fd = useless_listener(how, port_of(link == ENSIGN_LINK_RPC ? server.endpoint : server.auth), held);
    join_by_name();
    request = ensign_topic_create(client, "weather", NULL, NULL).id;
    for (began = ensign_now_ms(); !n && ensign_now_ms() - began < USELESS_MS / 2;) {
        assert_true(ensign_wait(client, &extra, 1, 50) >= 0);
        if (extra.ready & ENSIGN_READ) be_useless(how, (int)extra.fd, held);
        resolve(link);
        while ((n = ensign_next(client)) != NULL && n->handle != request)
            assert_int_equal(n->type, ENSIGN_NOTICE_CONNECTED);
    }
    if (!n) fail_msg("no answer, link %d, way %d: %s", link, (int)how, ensign_error(client)->text);
    is_of_type(n, ENSIGN_NOTICE_TOPIC);
    for (int i = 0; i < HELD; i++)
        if (held[i] != -1) close(held[i]);
    close((int)extra.fd);
    assert_int_equal(stop(NULL), 0);
}

static void a_useless_first_address_does_not_keep_the_second_from_serving(void **state)
{
    (void)state;
    for (int how = 0; how < USELESS; how++) {
        second_serves(ENSIGN_LINK_RPC, (useless_t)how);
        second_serves(ENSIGN_LINK_AUTH, (useless_t)how);
    }
}

/* ------------------------------------------------------------------ a server that keeps no places */
enum { BACKLOG = 100000 };
static ensign_t *writer;            /* past the relay */

/* Publishes events of these numbers, each by turns to one of the topics. All are stored then. */
static void publish_numbers(const char *const *topics, uint32_t topic_count, uint32_t from, uint32_t to)
{
    ensign_publisher_desc_t d;
    ensign_publisher_t p;
    const ensign_notice_t *n;
    ensign_event_t e;

    memset(&d, 0, sizeof d);
    memset(&e, 0, sizeof e);
    d.quiet_acks = true;
    p = ensign_publisher_open(writer, &d);
    while (from < to) {
        int rc;
        e.topic = topics[from % topic_count];
        e.data.ptr = (const uint8_t *)&from;
        e.data.len = sizeof from;
        rc = ensign_publish(writer, p, &e);
        if (rc == ENSIGN_OK) from++;
        else if (rc != ENSIGN_AGAIN) fail_msg("%s", ensign_error(writer)->text);
        else assert_int_equal(ensign_await(writer, p.id, WAIT_MS, &n), ENSIGN_OK);
    }
    assert_int_equal(ensign_publisher_flush(writer, p, WAIT_MS), ENSIGN_OK);
    assert_int_equal(ensign_forget(writer, p.id), ENSIGN_OK);
}

static uint32_t event_number(const ensign_notice_t *n)
{
    uint32_t number;
    if (n->type != ENSIGN_NOTICE_EVENT) fail_msg("%d: %s", n->type, n->error ? n->error->text : "");
    assert_int_equal(n->as.event->data.len, sizeof number);
    memcpy(&number, n->as.event->data.ptr, sizeof number);
    return number;
}

static ensign_subscription_t begin_resuming(const char *const *topics, uint32_t topic_count)
{
    ensign_subscription_desc_t d;
    ensign_subscription_t s;

    start("--strict");
    join();
    writer = client;
    for (uint32_t i = 0; i < topic_count; i++) make_topic(topics[i]);
    publish_numbers(topics, topic_count, 0, 100);       /* from before: nobody is given these */
    relay_start();
    join_at(relay.endpoint, 0, 0);
    memset(&d, 0, sizeof d);
    d.topics = topics;
    d.topic_count = topic_count;
    d.resume = true;
    s = ensign_subscription_open(client, &d);
    is_of_type(next(s.id), ENSIGN_NOTICE_OPEN);
    return s;
}

static int stop_both(void **state)
{
    if (writer != client) ensign_destroy(writer);
    writer = NULL;
    return stop(state);
}

/* A break of a stream that has given nothing yet, one behind a few events, and one with a long backlog. */
static void a_long_backlog_of_two_topics_is_read(void **state)
{
    static const char *const topics[] = { "weather", "traffic" };
    ensign_subscription_t s = begin_resuming(topics, 2);
    uint32_t last[2] = { 98, 99 }, end = 100;
    (void)state;

    for (int round = 0; round < 4; round++) {
        uint32_t down = round == 2 ? BACKLOG : 50, from = end;
        relay_tell(RELAY_CUT);
        publish_numbers(topics, 2, end, end + down);
        relay_tell(RELAY_OPEN);
        end += down + 50;
        for (uint32_t got = from; got < end; got++) {
            uint32_t number;
            if (got == end - 50) publish_numbers(topics, 2, end - 50, end);
            number = event_number(past_waiting(s.id));
            assert_int_equal(number, last[number % 2] + 2);     /* in order, and each once */
            last[number % 2] = number;
        }
    }
    assert_int_equal(last[0] + last[1], 2 * end - 3);
}

static void a_topic_that_no_query_can_name_has_a_gap(void **state)
{
    static const char *const topics[] = { "weather", "orders" };
    ensign_subscription_t s = begin_resuming(topics, 2);
    const ensign_notice_t *n;
    (void)state;

    publish_numbers(topics, 2, 100, 102);
    assert_int_equal(event_number(past_waiting(s.id)), 100);
    assert_int_equal(event_number(past_waiting(s.id)), 101);
    relay_tell(RELAY_CUT);
    publish_numbers(topics, 2, 102, 106);
    relay_tell(RELAY_OPEN);
    for (int gaps = 0, events = 0; gaps + events < 3;) {
        n = past_waiting(s.id);
        if (n->type == ENSIGN_NOTICE_GAP) {
            assert_int_equal(n->error->code, ENSIGN_E_UNIMPLEMENTED);
            has(n->error->text, "orders can be missing");
            assert_int_equal(n->as.gap.topic.len, strlen("orders"));
            assert_int_equal(++gaps, 1);
        } else {
            assert_int_equal(event_number(n), 102 + 2 * events++);
        }
    }
    is_of_type(next(s.id), ENSIGN_NOTICE_OPEN);
    publish_numbers(topics, 2, 106, 108);
    assert_int_equal(event_number(past_waiting(s.id)), 106);
    assert_int_equal(event_number(past_waiting(s.id)), 107);
}

int main(void)
{
#define FAULT(name) cmocka_unit_test_teardown(name, stop)
    const struct CMUnitTest tests[] = {
        FAULT(keepalive_leaves_a_relay_that_stopped),
        FAULT(calls_leave_a_relay_that_stopped),
        FAULT(every_third_event_is_refused_in_its_turn),
        FAULT(each_nack_carries_its_code_and_words),
        FAULT(a_held_back_ack_comes_late_and_its_event_does_not),
        FAULT(all_acks_come_before_close_stream),
        FAULT(strict_loses_acks_at_half_close_and_stores_the_events),
        FAULT(cut_behind_events_and_sent_again),
        FAULT(cut_behind_events_and_told_maybe),
        FAULT(deliveries_count_too),
        FAULT(cut_at_the_very_byte),
        FAULT(the_library_goes_on_after_cuts_anywhere),
        FAULT(refused_logins_are_final_for_a_client),
        FAULT(refused_for_a_while_is_tried_again),
        FAULT(refused_always),
        FAULT(a_token_expires_and_its_streams_go_on),
        FAULT(health_check_and_watch),
        FAULT(maintenance_lets_only_status_and_health_through),
        FAULT(the_auth_service_tells_what_is_public),
        FAULT(strict_limits_the_rate_of_the_auth_service),
        FAULT(a_message_too_large_is_nacked),
        FAULT(strict_ends_the_stream_of_a_message_too_large),
        FAULT(a_topic_made_later_is_taken),
        FAULT(a_flush_tells_the_first_nack),
        FAULT(strict_fixes_the_topics_when_a_stream_opens),
        FAULT(a_subscriber_is_registered_before_ready),
        FAULT(strict_registers_a_subscriber_behind_ready),
        FAULT(strict_drops_acks_that_nobody_reads),
        FAULT(strict_sends_away_who_pings_too_often),
        FAULT(a_useless_first_address_does_not_keep_the_second_from_serving),
        cmocka_unit_test_teardown(a_long_backlog_of_two_topics_is_read, stop_both),
        cmocka_unit_test_teardown(a_topic_that_no_query_can_name_has_a_gap, stop_both),
    };
    int rc, fd = mkstemp(keys_file);

    if (fd < 0 || write(fd, keys, sizeof keys - 1) != (ssize_t)sizeof keys - 1) return 1;
    close(fd);
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(keys_file);
    return rc;
}
