/* endpoints.c - two servers as the endpoints of one client, which are killed in turn under its streams
 *
 * The program starts two ensignd ($ENSIGND, or build/ensignd) with the same API key and, as the nodes of a
 * cluster have it, the same topic and the same key for signatures. Tokens live two seconds, so that some are
 * renewed by the server that is left. */
#define _GNU_SOURCE
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum {
    SERVERS = 2,
    ROUNDS = 10,
    EVENTS_MAX = 20000,
    EACH_MS = 2,                /* an event */
    WAIT_MS = 20000,            /* for one thing */
    ANSWERED = 50               /* events of each round, on the server that is left */
};

static const char keys[] = "{\"projects\":[{\"name\":\"p\",\"keys\":["
                           "{\"client_id\":\"me\",\"client_secret\":\"mine\"}]}]}";

typedef struct {
    pid_t pid;                  /* 0: it does not run */
    char data[64];
    unsigned port, auth_port;   /* once the kernel has chosen them, they stay */
} server_t;

static char folder[] = "/tmp/ensign-endpoints-XXXXXX";
static server_t servers[SERVERS];

static struct {
    ensign_t *c;
    ensign_publisher_t pub;
    ensign_subscription_t sub;
    uint8_t acks[EVENTS_MAX];   /* of each event */
    unsigned published, acked, received;
    unsigned pub_opens, sub_opens;
    uint64_t next_ms;           /* when the next event is due */
    unsigned port;              /* of the last CONNECTED */
} run;

/* ------------------------------------------------------------------ the servers */
static void in_folder(char out[64], const char *name)
{
    snprintf(out, 64, "%s/%s", folder, name);
}

static void become_server(const server_t *s, int out)
{
    const char *program = getenv("ENSIGND");
    char file[64], port[16], auth_port[16];

    in_folder(file, "keys");
    snprintf(port, sizeof port, "%u", s->port);
    snprintf(auth_port, sizeof auth_port, "%u", s->auth_port);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(out, STDOUT_FILENO);
    execl(program ? program : "build/ensignd", "ensignd", "--port", port, "--auth-port", auth_port, "--data",
          s->data, "--keys", file, "--access-life", "2", (char *)NULL);
    _exit(127);
}

/* Returns once it is ready. */
static void start(server_t *s)
{
    char line[256] = "";
    int fds[2];
    FILE *f;

    assert_int_equal(pipe(fds), 0);
    fflush(NULL);
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0) become_server(s, fds[1]);
    close(fds[1]);
    f = fdopen(fds[0], "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    fclose(f);
    assert_int_equal(sscanf(line, "ensignd: ready, endpoint 127.0.0.1:%u, auth http://127.0.0.1:%u", &s->port,
                            &s->auth_port), 2);
}

static int end(server_t *s, int signal)
{
    int status = 0;

    if (s->pid <= 0) return 0;
    kill(s->pid, signal);
    if (waitpid(s->pid, &status, 0) != s->pid) return -1;
    s->pid = 0;
    return signal == SIGTERM ? status : 0; /* a sanitizer's complaint, too, is a failure */
}

/* ------------------------------------------------------------------ clients */
static ensign_t *join(const char *endpoints, const char *auth)
{
    ensign_desc_t d;
    ensign_error_t why;
    ensign_t *c;

    memset(&d, 0, sizeof d);
    d.endpoint = endpoints;
    d.auth_url = auth;
    d.client_id = "me";
    d.client_secret = "mine";
    d.tls.off = true;
    d.backoff_min_ms = d.backoff_max_ms = 10;
    if (ensign_create(&d, &c, &why) != ENSIGN_OK) fail_msg("%s", why.text);
    return c;
}

static ensign_t *join_one(const server_t *s)
{
    char endpoint[32], auth[48];

    snprintf(endpoint, sizeof endpoint, "127.0.0.1:%u", s->port);
    snprintf(auth, sizeof auth, "http://127.0.0.1:%u", s->auth_port);
    return join(endpoint, auth);
}

static ensign_t *join_both(void)
{
    char endpoints[64], auth[96];

    snprintf(endpoints, sizeof endpoints, "127.0.0.1:%u,127.0.0.1:%u", servers[0].port, servers[1].port);
    snprintf(auth, sizeof auth, "http://127.0.0.1:%u,http://127.0.0.1:%u", servers[0].auth_port,
             servers[1].auth_port);
    return join(endpoints, auth);
}

/* The number that an event carries. */
static unsigned number_of(ensign_slice_t data)
{
    char text[16];

    assert_true(data.len < sizeof text);
    memcpy(text, data.ptr, data.len);
    text[data.len] = '\0';
    return (unsigned)strtoul(text, NULL, 10);
}

/* ------------------------------------------------------------------ the run: events, and their notices */
static void publish_one(void)
{
    ensign_event_t e;
    char text[16];

    memset(&e, 0, sizeof e);
    snprintf(text, sizeof text, "%u", run.published);
    e.topic = "weather";
    e.data = ensign_str(text);
    e.tag = run.published;
    assert_true(run.published < EVENTS_MAX);
    if (ensign_publish(run.c, run.pub, &e) != ENSIGN_OK) fail_msg("%s", ensign_error(run.c)->text);
    run.published++;
}

static void take_publisher(const ensign_notice_t *n)
{
    run.pub_opens += n->type == ENSIGN_NOTICE_OPEN;
    if (n->type == ENSIGN_NOTICE_NACK || n->type == ENSIGN_NOTICE_END)
        fail_msg("publisher: %s: %s", ensign_notice_name(n->type), n->error ? n->error->text : "");
    if (n->type != ENSIGN_NOTICE_ACK) return;
    run.acks[n->as.ack.tag]++;
    run.acked++;
}

static void take_subscription(const ensign_notice_t *n)
{
    run.sub_opens += n->type == ENSIGN_NOTICE_OPEN;
    run.received += n->type == ENSIGN_NOTICE_EVENT;
    if (n->type == ENSIGN_NOTICE_EVENT) assert_true(number_of(n->as.event->data) < run.published);
    if (n->type == ENSIGN_NOTICE_END) fail_msg("subscription: END: %s", n->error ? n->error->text : "");
}

static void take_client(const ensign_notice_t *n)
{
    if (n->type == ENSIGN_NOTICE_FAILED) fail_msg("FAILED: %s", n->error->text);
    if (n->type == ENSIGN_NOTICE_CONNECTED)
        assert_int_equal(sscanf(n->as.connected.endpoint, "127.0.0.1:%u", &run.port), 1);
}

/* Publishes what is due, and takes what has come. */
static void turn(void)
{
    const ensign_notice_t *n;
    uint64_t now = ensign_now_ms();

    while (run.next_ms <= now) {
        publish_one();
        run.next_ms = run.next_ms + EACH_MS > now ? run.next_ms + EACH_MS : now + EACH_MS;
    }
    if (ensign_wait(run.c, NULL, 0, EACH_MS) < 0) fail_msg("%s", ensign_error(run.c)->text);
    while ((n = ensign_next(run.c)) != NULL) {
        if (n->handle == ENSIGN_CLIENT) take_client(n);
        else if (n->handle == run.pub.id) take_publisher(n);
        else if (n->handle == run.sub.id) take_subscription(n);
    }
}

/* Until these counts have grown by so much. */
static void until(unsigned pub_opens, unsigned sub_opens, unsigned events, const char *what)
{
    const uint64_t end_ms = ensign_now_ms() + WAIT_MS;
    const unsigned pub = run.pub_opens + pub_opens, sub = run.sub_opens + sub_opens;
    const unsigned acked = run.acked + events, received = run.received + events;

    while (run.pub_opens < pub || run.sub_opens < sub || run.acked < acked || run.received < received) {
        if (ensign_now_ms() > end_ms)
            fail_msg("%s: %u and %u streams, %u of %u events acked, %u received", what, run.pub_opens,
                     run.sub_opens, run.acked, run.published, run.received);
        turn();
    }
}

static void open_streams(void)
{
    ensign_publisher_desc_t p;
    ensign_subscription_desc_t s;
    const char *topics[] = { "weather" };

    memset(&p, 0, sizeof p);
    memset(&s, 0, sizeof s);
    s.topics = topics;
    s.topic_count = 1;
    run.c = join_both();
    run.pub = ensign_publisher_open(run.c, &p);
    run.sub = ensign_subscription_open(run.c, &s);
    if (run.pub.id == 0 || run.sub.id == 0) fail_msg("%s", ensign_error(run.c)->text);
    run.next_ms = ensign_now_ms();
}

static void drain(void)
{
    run.next_ms = UINT64_MAX;
    while (run.acked < run.published) until(0, 0, 1, "the last answers");
}

/* Marks the numbers of all events that the server has stored. */
static void mark_stored(const server_t *s, bool stored[EVENTS_MAX])
{
    ensign_t *c = join_one(s);
    ensign_query_desc_t d;
    ensign_query_t q;
    const ensign_notice_t *n;

    memset(&d, 0, sizeof d);
    d.sql = "SELECT * FROM weather";
    q = ensign_query_open(c, &d);
    for (;;) {
        if (ensign_await(c, q.id, WAIT_MS, &n) != ENSIGN_OK) fail_msg("%s", ensign_error(c)->text);
        if (n->type == ENSIGN_NOTICE_EVENT) stored[number_of(n->as.event->data)] = true;
        if (n->last) break;
    }
    if (n->error) fail_msg("%s", n->error->text);
    ensign_destroy(c);
}

/* ------------------------------------------------------------------ the tests */
static void streams_move_to_the_server_that_is_left(void **state)
{
    static bool stored[EVENTS_MAX];
    (void)state;

    open_streams();
    until(1, 1, ANSWERED, "at first");
    assert_int_equal(run.port, servers[0].port);
    for (int i = 0; i < ROUNDS; i++) {
        server_t *killed = &servers[i % SERVERS], *left = &servers[(i + 1) % SERVERS];
        end(killed, SIGKILL);
        until(1, 1, 0, "both streams are open again");
        until(0, 0, ANSWERED, "events come on the server that is left");
        assert_int_equal(run.port, left->port);
        start(killed);
    }
    drain();
    for (unsigned i = 0; i < run.published; i++) assert_int_equal(run.acks[i], 1);
    for (int i = 0; i < SERVERS; i++) mark_stored(&servers[i], stored);
    for (unsigned i = 0; i < run.published; i++) assert_true(stored[i]);
}

/* While nobody listens the streams wait, and publishing goes on; the one that is back serves them. */
static void streams_wait_when_both_are_gone(void **state)
{
    (void)state;
    run.next_ms = ensign_now_ms();
    until(0, 0, 1, "before");
    for (int i = 0; i < SERVERS; i++) end(&servers[i], SIGKILL);
    for (uint64_t from = ensign_now_ms(); ensign_now_ms() < from + 200;) turn();
    start(&servers[1]);
    until(1, 1, ANSWERED, "one is back");
    assert_int_equal(run.port, servers[1].port);
    start(&servers[0]);
    drain();
    for (unsigned i = 0; i < run.published; i++) assert_int_equal(run.acks[i], 1);
}

/* ------------------------------------------------------------------ before and after */
static void make_topic(const server_t *s)
{
    ensign_t *c = join_one(s);
    const ensign_notice_t *n = NULL;

    if (ensign_await(c, ensign_topic_ensure(c, "weather", NULL).id, WAIT_MS, &n) != ENSIGN_OK || n->error)
        fail_msg("%s", n ? n->error->text : ensign_error(c)->text);
    ensign_destroy(c);
}

static int begin_all(void **state)
{
    char name[64], command[192];
    FILE *f;
    (void)state;

    assert_non_null(mkdtemp(folder));
    in_folder(name, "keys");
    f = fopen(name, "w");
    assert_non_null(f);
    fputs(keys, f);
    fclose(f);
    for (int i = 0; i < SERVERS; i++) in_folder(servers[i].data, i ? "second" : "first");
    start(&servers[0]);
    make_topic(&servers[0]);
    assert_int_equal(end(&servers[0], SIGTERM), 0);
    snprintf(command, sizeof command, "cp -R %s %s", servers[0].data, servers[1].data);
    assert_int_equal(system(command), 0);
    for (int i = 0; i < SERVERS; i++) start(&servers[i]);
    return 0;
}

static int end_all(void **state)
{
    char command[96];
    int status = 0;
    (void)state;

    if (run.c) ensign_destroy(run.c);
    for (int i = 0; i < SERVERS; i++) status |= end(&servers[i], SIGTERM);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) | status;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_move_to_the_server_that_is_left),
        cmocka_unit_test(streams_wait_when_both_are_gone),
    };
    return cmocka_run_group_tests_name("endpoints", tests, begin_all, end_all);
}
