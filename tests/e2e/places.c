/* places.c - where subscriptions of the development server begin, and that slow ones lose nothing; a log that
 * cannot be written for a while
 *
 * Subscriptions are calls of gRPC here: what is asked and what comes is seen as it is on the wire. The
 * program starts ensignds of its own ($ENSIGND, or build/ensignd). A limit on the size of its files makes its
 * disk full. */
#define _GNU_SOURCE
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { WAIT_MS = 60000, MANY = 200000, LARGE = 96, LARGE_BYTES = 1 << 20, LARGE_KIB = LARGE * 1024 };

/* A sanitizer keeps what was freed for a while: it would count, too. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#define SUBSCRIBE "/ensign.v1beta1.Ensign/Subscribe"

static const char keys_text[] =
    "{ \"projects\": [ { \"name\": \"p\", \"keys\": ["
    " { \"client_id\": \"all\", \"client_secret\": \"a\" } ] } ] }";

static char folder[] = "/tmp/ensign-places-XXXXXX";
static pid_t server;
static ensign_t *client;

/* ------------------------------------------------------------------ the server, and a client */
static void in_folder(char out[64], const char *name)
{
    snprintf(out, 64, "%s/%s", folder, name);
}

/* `options`: their words, with a blank between. */
static void run_server(int out, const char *options)
{
    const char *program = getenv("ENSIGND");
    char data[64], keys[64], words[200];
    char *args[32] = { "ensignd", "--port", "0", "--auth-port", "0", "--keys", keys };
    int n = 7;

    in_folder(data, "data");
    in_folder(keys, "keys");
    snprintf(words, sizeof words, "%s", options);
    for (char *word = strtok(words, " "); word && n < 30; word = strtok(NULL, " "))
        args[n++] = strcmp(word, "DATA") == 0 ? data : word;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGXFSZ, SIG_IGN);
    dup2(out, STDOUT_FILENO);
    execv(program ? program : "build/ensignd", args);
    _exit(127);
}

static void start_server(const char *options)
{
    char line[256] = "", endpoint[64], auth[96];
    ensign_desc_t d;
    ensign_error_t why;
    int fds[2];
    FILE *f;

    assert_int_equal(pipe(fds), 0);
    server = fork();
    assert_true(server >= 0);
    if (server == 0) run_server(fds[1], options);
    close(fds[1]);
    f = fdopen(fds[0], "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    assert_int_equal(sscanf(line, "ensignd: ready, endpoint %63[^,], auth %95s", endpoint, auth), 2);
    fclose(f);
    memset(&d, 0, sizeof d);
    d.endpoint = endpoint;
    d.auth_url = auth;
    d.client_id = "all";
    d.client_secret = "a";
    d.tls.off = true;
    if (ensign_create(&d, &client, &why) != ENSIGN_OK) fail_msg("%s", why.text);
}

static void stop_server(int number)
{
    ensign_destroy(client);
    client = NULL;
    if (server > 0) {
        kill(server, number);
        assert_int_equal(waitpid(server, NULL, 0), server);
    }
    server = 0;
}

static const ensign_notice_t *next(uint32_t handle)
{
    const ensign_notice_t *n = NULL;
    int rc = ensign_await(client, handle, WAIT_MS, &n);

    if (rc != ENSIGN_OK) fail_msg("%s", ensign_error(client)->text);
    return n;
}

static void make_topic(const char *name, int strategy)
{
    ensign_dedup_t policy;
    ensign_request_t r;
    const ensign_notice_t *n;

    memset(&policy, 0, sizeof policy);
    policy.strategy = strategy;
    r = ensign_topic_create(client, name, strategy ? &policy : NULL, NULL);
    n = next(r.id);
    if (n->error) fail_msg("%s", n->error->text);
}

/* ------------------------------------------------------------------ publish */
static ensign_publisher_t open_publisher(const char *topic, uint32_t buffer)
{
    ensign_publisher_desc_t d;

    memset(&d, 0, sizeof d);
    d.topic = topic;
    d.buffer_bytes = buffer;
    d.ack_timeout_ms = 10 * WAIT_MS;
    return ensign_publisher_open(client, &d);
}

static void publish_on(ensign_publisher_t p, const char *text, size_t len)
{
    ensign_event_t e;

    memset(&e, 0, sizeof e);
    e.data.ptr = (const uint8_t *)text;
    e.data.len = len;
    e.mimetype = ENSIGN_MIME_APPLICATION_JSON;
    for (int rc; (rc = ensign_publish(client, p, &e)) != ENSIGN_OK;) {
        if (rc != ENSIGN_AGAIN) fail_msg("%s", ensign_error(client)->text);
        next(p.id);
    }
}

/* The codes of the answers: 0 for an ACK. Returns how many were ACKs. */
static uint64_t end_publisher(ensign_publisher_t p, int *last_code)
{
    const ensign_notice_t *n;

    assert_int_equal(ensign_close(client, p.id, WAIT_MS), ENSIGN_OK);
    do {
        n = next(p.id);
        if (n->type == ENSIGN_NOTICE_NACK && last_code) *last_code = n->as.nack.code;
    } while (!n->last);
    return n->as.end.count;
}

static void publish(const char *topic, const char *text)
{
    ensign_publisher_t p = open_publisher(topic, 0);

    publish_on(p, text, strlen(text));
    assert_int_equal(end_publisher(p, NULL), 1);
}

static void publish_numbers(const char *topic, uint64_t first, uint64_t count)
{
    ensign_publisher_t p = open_publisher(topic, 0);
    char text[40];

    for (uint64_t i = first; i < first + count; i++) {
        snprintf(text, sizeof text, "{\"n\":%" PRIu64 "}", i);
        publish_on(p, text, strlen(text));
    }
    assert_int_equal(end_publisher(p, NULL), count);
}

/* ------------------------------------------------------------------ subscribe */
typedef struct offset_t { const char *topic; uint64_t offset; } offset_t;

static ensign_slice_t put_offsets(const offset_t *offsets, size_t count, uint8_t *out)
{
    uint8_t *p = out;

    for (size_t i = 0; i < count; i++) {
        size_t key = strlen(offsets[i].topic);
        size_t size = ensi_pb_bytes_size(1, key) + 1 + ensi_pb_varint_size(offsets[i].offset);
        p = ensi_pb_put_head(p, 12, size);
        p = ensi_pb_put_bytes(p, 1, ensign_str(offsets[i].topic));
        *p++ = 2 << 3;
        p = ensi_pb_put_varint(p, offsets[i].offset);
    }
    return ensi_slice(out, (size_t)(p - out));
}

/* topics: each with a blank behind it. query: NULL, none. */
static ensign_call_t subscribe(const char *topics, const char *query, const offset_t *offsets, size_t count)
{
    ensi_pb_subscribe_request_t m;
    uint8_t bytes[1024], places[400], names[400], *p = names;
    ensign_call_desc_t d;
    ensign_call_t k;
    size_t len = 0;

    memset(&m, 0, sizeof m);
    for (const char *at = topics, *end; (end = strchr(at, ' ')) != NULL; at = end + 1)
        p = ensi_pb_put_bytes(p, 2, ensi_slice((const uint8_t *)at, (size_t)(end - at)));
    m.has_subscription = true;
    m.subscription.topics = ensi_slice(names, (size_t)(p - names));
    m.subscription.has_query = query != NULL;
    if (query) m.subscription.query.query = ensign_str(query);
    m.subscription.has_group = count > 0;
    m.subscription.group.topic_offsets = put_offsets(offsets, count, places);
    assert_true(ensi_pb_encode(ensi_pb_subscribe_request_fields, &m, bytes, sizeof bytes, &len));
    memset(&d, 0, sizeof d);
    d.method = SUBSCRIBE;
    d.wait_for_ready = true;
    k = ensign_call_open(client, &d);
    assert_true(k.id != 0);
    assert_int_equal(ensign_call_send(client, k, ensi_slice(bytes, len), 0), ENSIGN_OK);
    return k;
}

typedef struct place_t { uint64_t epoch, offset; } place_t;

/* To the message `ready`: the header that came before it. epoch 0: there was none. */
static place_t begin(ensign_call_t k)
{
    place_t place = { 0, 0 };
    ensign_slice_t value;
    ensi_pb_subscribe_reply_t m;
    char text[64];

    for (;;) {
        const ensign_notice_t *n = next(k.id);
        if (n->last) fail_msg("%.*s", (int)n->as.end.text.len, (const char *)n->as.end.text.ptr);
        if (n->type != ENSIGN_NOTICE_MESSAGE) continue;
        assert_true(ensi_pb_decode(ensi_pb_subscribe_reply_fields, &m, n->as.message.bytes.ptr,
                                   n->as.message.bytes.len));
        assert_true(m.has_ready);
        if (!ensign_call_metadata_get(client, k, ENSIGN_HEADERS, "ensign-place", &value)) return place;
        snprintf(text, sizeof text, "%.*s", (int)value.len, (const char *)value.ptr);
        assert_int_equal(sscanf(text, "%" SCNu64 " %" SCNu64, &place.epoch, &place.offset), 2);
        return place;
    }
}

typedef struct seen_t { char data[64]; uint64_t offset, epoch; bool duplicate, committed; } seen_t;

static seen_t next_event(ensign_call_t k)
{
    const ensign_notice_t *n = next(k.id);
    ensi_pb_subscribe_reply_t m;
    ensi_pb_event_t e;
    seen_t seen;

    if (n->last) fail_msg("%.*s", (int)n->as.end.text.len, (const char *)n->as.end.text.ptr);
    assert_int_equal(n->type, ENSIGN_NOTICE_MESSAGE);
    assert_true(ensi_pb_decode(ensi_pb_subscribe_reply_fields, &m, n->as.message.bytes.ptr,
                               n->as.message.bytes.len));
    assert_true(m.has_event);
    assert_true(ensi_pb_decode(ensi_pb_event_fields, &e, m.event.event.ptr, m.event.event.len));
    memset(&seen, 0, sizeof seen);
    snprintf(seen.data, sizeof seen.data, "%.*s", (int)e.data.len, (const char *)e.data.ptr);
    seen.offset = m.event.offset;
    seen.epoch = m.event.epoch;
    seen.duplicate = m.event.is_duplicate;
    seen.committed = m.event.has_committed;
    return seen;
}

static uint64_t gives(ensign_call_t k, const char *text)
{
    seen_t seen = next_event(k);
    assert_string_equal(seen.data, text);
    assert_true(seen.committed);
    return seen.offset;
}

static void gives_numbers(ensign_call_t k, uint64_t first, uint64_t count)
{
    uint64_t last = 0;
    char text[40];

    for (uint64_t i = first; i < first + count; i++) {
        seen_t seen = next_event(k);
        snprintf(text, sizeof text, "{\"n\":%" PRIu64 "}", i);
        if (strcmp(seen.data, text) != 0) fail_msg("%s came, and not %s", seen.data, text);
        assert_true(seen.offset > last);
        last = seen.offset;
    }
}

static void end(ensign_call_t k)
{
    assert_int_equal(ensign_forget(client, k.id), ENSIGN_OK);
}

static void refused(const char *topics, const char *query, const char *words)
{
    ensign_call_t k = subscribe(topics, query, NULL, 0);
    const ensign_notice_t *n;
    char text[512];

    do n = next(k.id);
    while (!n->last);
    assert_int_equal(n->as.end.status, ENSIGN_GRPC_INVALID_ARGUMENT);
    snprintf(text, sizeof text, "%.*s", (int)n->as.end.text.len, (const char *)n->as.end.text.ptr);
    if (!strstr(text, words)) fail_msg("%s", text);
}

/* ------------------------------------------------------------------ where a subscription begins */
static void the_header_tells_where_it_begins(void **state)
{
    ensign_call_t k;
    place_t first, second;
    seen_t seen;
    (void)state;

    make_topic("header", 0);
    publish("header", "before");
    k = subscribe("header ", NULL, NULL, 0);
    first = begin(k);
    assert_true(first.epoch != 0 && first.offset != 0);
    publish("header", "a");
    seen = next_event(k);
    assert_string_equal(seen.data, "a");
    assert_true(seen.epoch == first.epoch && seen.offset > first.offset);
    end(k);
    k = subscribe("header ", NULL, NULL, 0);
    second = begin(k);
    assert_true(second.epoch == first.epoch && second.offset >= seen.offset);
    end(k);
}

static void each_topic_begins_behind_its_offset(void **state)
{
    offset_t places[3] = { { "left", 0 }, { "right", 0 }, { "nobody", 7 } };
    uint64_t left, right;
    ensign_call_t k;
    place_t place;
    (void)state;

    make_topic("left", 0);
    make_topic("right", 0);
    make_topic("third", 0);
    k = subscribe("left right third ", NULL, NULL, 0);
    begin(k);
    publish("left", "l1");
    publish("right", "r1");
    publish("third", "t1");
    publish("left", "l2");
    publish("right", "r2");
    left = gives(k, "l1");
    gives(k, "r1");
    gives(k, "t1");
    gives(k, "l2");
    right = gives(k, "r2");
    end(k);
    places[0].offset = left;
    places[1].offset = right;
    k = subscribe("left right third ", NULL, places, 3);        /* the third topic is not named: it is live */
    place = begin(k);
    assert_true(place.offset >= right);
    publish("third", "t2");
    gives(k, "l2");
    gives(k, "t2");
    end(k);
    places[0].offset = 0;               /* from the beginning */
    places[1].offset = UINT64_MAX;      /* as the last one that there is */
    k = subscribe("left right third ", NULL, places, 2);
    begin(k);
    publish("right", "r3");
    gives(k, "l1");
    gives(k, "l2");
    gives(k, "r3");
    end(k);
}

static void a_query_says_where_to_begin(void **state)
{
    offset_t place = { "queried", 0 };
    ensign_call_t k;
    place_t header;
    (void)state;

    make_topic("queried", 0);
    make_topic("beside", 0);
    publish_numbers("queried", 0, 3000);
    publish("beside", "not asked for");
    k = subscribe("queried beside ", "SELECT * FROM queried OFFSET 2500", NULL, 0);
    header = begin(k);
    place.offset = next_event(k).offset;
    assert_true(header.offset == place.offset - 1);
    gives_numbers(k, 2501, 499);
    publish("beside", "not asked for");
    publish_numbers("queried", 3000, 1);
    gives_numbers(k, 3000, 1);          /* and goes on live */
    end(k);
    k = subscribe("queried ", "SELECT * FROM queried OFFSET 9999", NULL, 0);     /* there are not so many */
    begin(k);
    publish_numbers("queried", 3001, 1);
    gives_numbers(k, 3001, 1);
    end(k);
    k = subscribe("queried ", "SELECT * FROM queried", NULL, 0);
    begin(k);
    publish_numbers("queried", 3002, 1);
    gives_numbers(k, 3002, 1);
    end(k);
    k = subscribe("queried ", "SELECT * FROM queried OFFSET 1", &place, 1);      /* its places win */
    begin(k);
    gives_numbers(k, 2501, 502);
    end(k);
}

static void where_chooses_the_events(void **state)
{
    ensign_call_t k;
    (void)state;

    make_topic("chosen", 0);
    publish_numbers("chosen", 0, 2000);
    k = subscribe("chosen ", "SELECT * FROM chosen WHERE n IN (3, 1700, 2001) OR name = 'x' OFFSET 0", NULL,
                  0);
    begin(k);
    gives(k, "{\"n\":3}");
    gives(k, "{\"n\":1700}");
    publish_numbers("chosen", 2000, 2);
    publish("chosen", "{\"name\":\"x\"}");
    gives(k, "{\"n\":2001}");
    gives(k, "{\"name\":\"x\"}");
    end(k);
}

static void what_a_subscription_cannot_give_is_refused(void **state)
{
    (void)state;
    make_topic("refused", 0);
    make_topic("other", 0);
    refused("refused ", "SELECT * FROM refused LIMIT 5", "leave LIMIT out");
    refused("refused ", "SELECT n FROM refused", "write SELECT *");
    refused("refused ", "SELECT * FROM other", "not one of the subscription's topics");
    refused("refused ", "SELECT * FROM nowhere", "not one of the subscription's topics");
    refused("refused ", "SELECT * FROM refused WHERE", "position");
}

static void duplicates_are_whole(void **state)
{
    offset_t place = { "repeated", 0 };
    ensign_call_t k;
    (void)state;

    make_topic("repeated", ENSIGN_DEDUP_DATAGRAM);
    k = subscribe("repeated ", NULL, NULL, 0);
    begin(k);
    for (int i = 0; i < 3; i++) publish("repeated", "same");
    publish("repeated", "other");
    for (int round = 0; round < 2; round++) {   /* live, and out of the log */
        for (int i = 0; i < 4; i++) {
            seen_t seen = next_event(k);
            assert_string_equal(seen.data, i < 3 ? "same" : "other");
            assert_int_equal(seen.duplicate, i == 1 || i == 2);
        }
        end(k);
        if (round == 0) begin(k = subscribe("repeated ", NULL, &place, 1));
    }
}

/* ------------------------------------------------------------------ slow subscribers */

/* The server's queue is short, and nothing is read before all is stored. */
static void a_slow_subscriber_gets_all(void **state)
{
    ensign_call_t slow, fast;
    (void)state;

    make_topic("many", 0);
    make_topic("few", 0);
    slow = subscribe("many few ", NULL, NULL, 0);
    begin(slow);
    assert_int_equal(ensign_hold(client, slow.id, true), ENSIGN_OK);
    fast = subscribe("many ", NULL, NULL, 0);
    begin(fast);
    publish_numbers("many", 0, MANY);
    gives_numbers(fast, 0, MANY);
    gives_numbers(slow, 0, MANY);
    publish("few", "last");
    gives(slow, "last");
    end(slow);
    end(fast);
}

/* ------------------------------------------------------------------ a restart, and a log in memory */
static void places_outlive_the_server(void **state)
{
    offset_t behind = { "kept", 0 };
    ensign_call_t k;
    place_t before, after;
    (void)state;

    make_topic("kept", 0);
    k = subscribe("kept ", NULL, NULL, 0);
    before = begin(k);
    publish_numbers("kept", 0, 10);
    behind.offset = next_event(k).offset;
    stop_server(SIGKILL);
    start_server("--data DATA --subscriber-queue 100 --store-timeout 1");
    k = subscribe("kept ", NULL, &behind, 1);
    after = begin(k);
    assert_true(after.epoch == before.epoch && after.offset >= behind.offset + 9);
    gives_numbers(k, 1, 9);
    publish_numbers("kept", 10, 1);
    gives_numbers(k, 10, 1);
    end(k);
}

static void a_log_in_memory_has_an_epoch_of_its_own(void **state)
{
    place_t places[2];
    (void)state;

    for (int i = 0; i < 2; i++) {
        start_server("--memory");
        make_topic("t", 0);
        places[i] = begin(subscribe("t ", NULL, NULL, 0));
        stop_server(SIGTERM);
    }
    assert_true(places[0].epoch != 0 && places[1].epoch != 0 && places[0].epoch != places[1].epoch);
}

static void strict_is_as_the_real_server(void **state)
{
    offset_t place = { "t", 0 };
    ensign_call_t k;
    seen_t seen;
    (void)state;

    start_server("--memory --strict");
    make_topic("t", 0);
    publish("t", "before");
    k = subscribe("t ", "SELECT * FROM nowhere LIMIT 1", &place, 1);    /* both are ignored */
    assert_int_equal(begin(k).epoch, 0);
    publish("t", "a");
    seen = next_event(k);
    assert_string_equal(seen.data, "a");
    assert_true(seen.offset == 0 && seen.epoch == 0 && seen.committed);
    stop_server(SIGTERM);
}

/* ------------------------------------------------------------------ a full disk */
static void fill_disk(bool full)
{
    struct rlimit limit = { full ? 1 : RLIM_INFINITY, RLIM_INFINITY };
    assert_int_equal(prlimit(server, RLIMIT_FSIZE, &limit, NULL), 0);
}

static int status_of(void)
{
    ensign_request_t r = ensign_status(client, NULL);
    const ensign_notice_t *n = next(r.id);

    if (n->error) fail_msg("%s", n->error->text);
    return n->as.status.state;
}

static void health_becomes(ensign_request_t watch, int state)
{
    const ensign_notice_t *n;

    do n = next(watch.id);
    while (n->type != ENSIGN_NOTICE_HEALTH);
    assert_int_equal(n->as.health.state, state);
}

static void what_cannot_be_stored_is_refused_in_the_end(void **state)
{
    ensign_request_t watch = ensign_health(client, NULL, true, NULL);
    ensign_publisher_t p;
    ensign_call_t k;
    int code = 0;
    (void)state;

    health_becomes(watch, ENSIGN_HEALTH_SERVING);
    assert_int_equal(status_of(), ENSIGN_SERVICE_HEALTHY);
    make_topic("full", 0);
    k = subscribe("full ", NULL, NULL, 0);
    begin(k);
    publish("full", "before");
    fill_disk(true);
    p = open_publisher("full", 0);
    publish_on(p, "lost", 4);
    assert_int_equal(end_publisher(p, &code), 0);
    assert_int_equal(code, ENSIGN_NACK_CONSENSUS_FAILURE);
    health_becomes(watch, ENSIGN_HEALTH_NOT_SERVING);
    assert_int_equal(status_of(), ENSIGN_SERVICE_UNHEALTHY);
    fill_disk(false);
    health_becomes(watch, ENSIGN_HEALTH_SERVING);
    assert_int_equal(status_of(), ENSIGN_SERVICE_HEALTHY);
    publish("full", "after");
    gives(k, "before");
    gives(k, "after");
    end(k);
    ensign_forget(client, watch.id);
}

static long resident_kib(void)
{
    char path[64], line[200];
    long kib = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/status", (int)server);
    f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) sscanf(line, "VmHWM: %ld", &kib);
    fclose(f);
    return kib;
}

static void number_large(char *text, int number)
{
    memset(text, 'x', LARGE_BYTES);
    snprintf(text, 16, "%08d", number);
}

/* What they send waits, most of it with themselves, and is stored in order when that is possible again. */
static void publishers_wait_for_a_disk_with_room(void **state)
{
    ensign_request_t watch;
    ensign_publisher_t p;
    ensign_call_t k;
    char *text = malloc(LARGE_BYTES);
    offset_t place = { "large", 0 };
    (void)state;

    assert_non_null(text);
    start_server("--data DATA --store-timeout 600");
    make_topic("large", 0);
    watch = ensign_health(client, NULL, true, NULL);
    health_becomes(watch, ENSIGN_HEALTH_SERVING);
    fill_disk(true);
    p = open_publisher("large", (LARGE + 8) * LARGE_BYTES);
    for (int i = 0; i < LARGE; i++) {
        number_large(text, i);
        publish_on(p, text, LARGE_BYTES);
    }
    health_becomes(watch, ENSIGN_HEALTH_NOT_SERVING);
    fill_disk(false);
    assert_int_equal(end_publisher(p, NULL), LARGE);
    k = subscribe("large ", NULL, &place, 1);
    begin(k);
    for (int i = 0; i < LARGE; i++) {
        seen_t seen = next_event(k);
        assert_int_equal(strtol(seen.data, NULL, 10), i);
    }
    if (!SANITIZED && resident_kib() > LARGE_KIB) fail_msg("the server took %ld KiB", resident_kib());
    free(text);
    stop_server(SIGTERM);
}

/* ------------------------------------------------------------------ all of it */
static int make_folder(void **state)
{
    char path[64];
    FILE *f;
    (void)state;

    if (!mkdtemp(folder)) return -1;
    in_folder(path, "keys");
    f = fopen(path, "w");
    if (!f) return -1;
    fputs(keys_text, f);
    return fclose(f);
}

static int remove_folder(void **state)
{
    static const char *const names[] = { "data/ensignd.db", "data/ensignd.db-wal", "data/ensignd.db-shm",
                                         "data/lock", "data", "keys", "" };
    char path[64];
    (void)state;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        in_folder(path, names[i]);
        remove(path);
    }
    return 0;
}

static int start(void **state)
{
    (void)state;
    start_server("--data DATA --subscriber-queue 100 --store-timeout 1");
    return 0;
}

/* Also behind a test that has failed. */
static int stop(void **state)
{
    (void)state;
    stop_server(SIGTERM);
    return 0;
}

#define ON_ONE(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ONE(the_header_tells_where_it_begins),
        ON_ONE(each_topic_begins_behind_its_offset),
        ON_ONE(a_query_says_where_to_begin),
        ON_ONE(where_chooses_the_events),
        ON_ONE(what_a_subscription_cannot_give_is_refused),
        ON_ONE(duplicates_are_whole),
        ON_ONE(a_slow_subscriber_gets_all),
        ON_ONE(places_outlive_the_server),
        ON_ONE(what_cannot_be_stored_is_refused_in_the_end),
        cmocka_unit_test_teardown(a_log_in_memory_has_an_epoch_of_its_own, stop),
        cmocka_unit_test_teardown(strict_is_as_the_real_server, stop),
        cmocka_unit_test_teardown(publishers_wait_for_a_disk_with_room, stop),
    };
    return cmocka_run_group_tests_name("places", tests, make_folder, remove_folder);
}
