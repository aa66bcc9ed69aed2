/* etcd.c - an etcd that is killed and started again under a watch
 *
 *   etcd LABEL PROGRAM FOLDER [CERTIFICATES]    PROGRAM is etcd; FOLDER, which is there, is for its data
 *
 * etcd is a child of this program, and ends with it. A streaming Watch call gets the value that is put. Then
 * etcd is killed: the call ENDs, and the watch of health says why it waits. Calls that are opened meanwhile,
 * with wait_for_ready, go through when etcd is back.
 *
 * With the folder CERTIFICATES, which tests/peers/certificates.c fills, etcd asks each client for a
 * certificate; ENSIGN_CA_FILE, ENSIGN_CERT_FILE and ENSIGN_KEY_FILE name ours.
 */
#include "ensign.h"

#include <fcntl.h>
#include <pb_decode.h>
#include <pb_encode.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "etcd.pb.h"
#include "run.h"

#define KEY "peers/watched"

enum {
    WAIT_MS = 20000,            /* for one thing, then the run is over */
    AWAY_MS = 1500,             /* as long as etcd is away, some attempts fail */
    LOOK_MS = 50                /* from one look at etcd's log to the next */
};

typedef struct run_t {
    ensign_t *c;
    const char *program, *folder;
    const char *certificates;   /* NULL: in the clear */
    char log[512], endpoint[32], listen[48];
    char server_cert[512], server_key[512], ca[512];
    pid_t etcd;                 /* 0: it does not run */
    ensign_request_t health;
    bool serving, waited;       /* its last word; a WAITING that names etcd's address came */
    ensign_call_t watch, unary; /* unary: a Put or a Range */
    unsigned created;           /* watches that the server has confirmed */
    char value[40];             /* of the last event */
    int64_t revision;           /* of the last event */
    bool watch_ended, unary_ended;
    bool lost;                  /* the END is UNAVAILABLE, and names etcd's address */
    int status;                 /* of the unary call */
    char range[40];             /* the value that a Range gave */
} run_t;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "etcd: %s: %s\n", what, why);
    exit(2);
}

/* ------------------------------------------------------------------ etcd itself */
static void stop_etcd(run_t *r)
{
    if (r->etcd <= 0) return;
    kill(r->etcd, SIGKILL);
    waitpid(r->etcd, NULL, 0);
    r->etcd = 0;
}

/* In the child, which dies with its parent. Members talk to each other through a socket in the folder. */
static void become_etcd(const run_t *r)
{
    const char *self = "unix://peers:0", *listen = r->listen;
    const char *more = r->certificates ? "--client-cert-auth" : NULL; /* NULL ends the list */
    int log = open(r->log, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (log < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || chdir(r->folder) != 0) _exit(126);
    dup2(log, 1);
    dup2(log, 2);
    execl(r->program, r->program, "--data-dir", "data", "--logger", "zap",
          "--listen-client-urls", listen, "--advertise-client-urls", listen,
          "--listen-peer-urls", self, "--initial-advertise-peer-urls", self,
          "--initial-cluster", "default=unix://peers:0", more, "--trusted-ca-file", r->ca,
          "--cert-file", r->server_cert, "--key-file", r->server_key, (char *)NULL);
    _exit(127);
}

static void start_etcd(run_t *r)
{
    unlink(r->log);
    fflush(stdout);
    r->etcd = fork();
    if (r->etcd == 0) become_etcd(r);
    if (r->etcd < 0) fail("fork", "no child");
}

/* The port, in etcd's own words; 0: it has not said so yet. */
static unsigned told_port(const run_t *r)
{
    static const char serving[] = "\"serving client traffic", at[] = "\"address\":\"127.0.0.1:";
    char line[2048], *address;
    unsigned port = 0;
    FILE *f = fopen(r->log, "r");

    while (f && port == 0 && fgets(line, sizeof line, f))
        if (strstr(line, serving) && (address = strstr(line, at)) != NULL)
            port = (unsigned)strtoul(address + sizeof at - 1, NULL, 10);
    if (f) fclose(f);
    return port;
}

/* The first time the kernel chooses a port, which is then etcd's. */
static bool first_start(run_t *r)
{
    const char *scheme = r->certificates ? "https" : "http";
    unsigned port = 0;

    snprintf(r->log, sizeof r->log, "%s/log", r->folder);
    snprintf(r->listen, sizeof r->listen, "%s://127.0.0.1:0", scheme);
    if (r->certificates) {
        snprintf(r->ca, sizeof r->ca, "%s/ca.pem", r->certificates);
        snprintf(r->server_cert, sizeof r->server_cert, "%s/server.pem", r->certificates);
        snprintf(r->server_key, sizeof r->server_key, "%s/server.key", r->certificates);
    }
    start_etcd(r);
    for (int waited = 0; port == 0 && waited < WAIT_MS; waited += LOOK_MS) {
        usleep(LOOK_MS * 1000);
        port = told_port(r);
        if (port == 0 && waitpid(r->etcd, NULL, WNOHANG) == r->etcd) break;
    }
    snprintf(r->listen, sizeof r->listen, "%s://127.0.0.1:%u", scheme, port);
    snprintf(r->endpoint, sizeof r->endpoint, "localhost:%u", port);
    return port != 0;
}

/* ------------------------------------------------------------------ calls */
static ensign_slice_t encode(const pb_msgdesc_t *fields, const void *message)
{
    static uint8_t bytes[256];
    pb_ostream_t s = pb_ostream_from_buffer(bytes, sizeof bytes);

    if (!pb_encode(&s, fields, message)) fail("encode", PB_GET_ERROR(&s));
    return ensign_bytes(bytes, s.bytes_written);
}

#define SET_BYTES(field, text) \
    ((field).size = (pb_size_t)strlen(text), memcpy((field).bytes, (text), strlen(text)))

static void open_watch(run_t *r)
{
    etcd_WatchRequest m = etcd_WatchRequest_init_zero;
    ensign_call_desc_t d = { .method = "/etcdserverpb.Watch/Watch", .wait_for_ready = true };

    m.has_create_request = true;
    SET_BYTES(m.create_request.key, KEY);
    m.create_request.start_revision = r->revision > 0 ? r->revision + 1 : 0;
    d.request = encode(etcd_WatchRequest_fields, &m);
    r->watch_ended = false;
    r->watch = ensign_call_open(r->c, &d);
    if (r->watch.id == 0) fail("open the watch", ensign_error(r->c)->text);
}

static void open_unary(run_t *r, const char *method, ensign_slice_t request)
{
    ensign_call_desc_t d = { .method = method, .request = request, .unary = true, .wait_for_ready = true,
                             .deadline_ms = WAIT_MS };

    r->unary_ended = false;
    r->unary = ensign_call_open(r->c, &d);
    if (r->unary.id == 0) fail(method, ensign_error(r->c)->text);
}

static void open_put(run_t *r, const char *value)
{
    etcd_PutRequest m = etcd_PutRequest_init_zero;

    SET_BYTES(m.key, KEY);
    SET_BYTES(m.value, value);
    open_unary(r, "/etcdserverpb.KV/Put", encode(etcd_PutRequest_fields, &m));
}

static void open_range(run_t *r)
{
    etcd_RangeRequest m = etcd_RangeRequest_init_zero;

    SET_BYTES(m.key, KEY);
    open_unary(r, "/etcdserverpb.KV/Range", encode(etcd_RangeRequest_fields, &m));
}

static void take_message(run_t *r, ensign_slice_t bytes)
{
    etcd_WatchResponse m = etcd_WatchResponse_init_zero;
    pb_istream_t s = pb_istream_from_buffer(bytes.ptr, bytes.len);

    if (!pb_decode(&s, etcd_WatchResponse_fields, &m)) fail("decode", PB_GET_ERROR(&s));
    if (m.canceled) fail("watch", "the server has cancelled it");
    r->created += m.created;
    for (pb_size_t i = 0; i < m.events_count; i++) {
        const etcd_KeyValue *kv = &m.events[i].kv;
        snprintf(r->value, sizeof r->value, "%.*s", (int)kv->value.size, (const char *)kv->value.bytes);
        r->revision = kv->mod_revision;
    }
}

static void take_watch(run_t *r, const ensign_notice_t *n)
{
    if (n->type == ENSIGN_NOTICE_MESSAGE) take_message(r, n->as.message.bytes);
    if (n->type == ENSIGN_NOTICE_WAITING) note("the Watch call, WAITING: %s", words(n));
    if (n->type != ENSIGN_NOTICE_END) return;
    r->watch_ended = true;
    r->lost = n->as.end.status == ENSIGN_GRPC_UNAVAILABLE && says(n, r->endpoint);
    note("the Watch call, END with status %d: %s", n->as.end.status, words(n));
}

static void take_health(run_t *r, const ensign_notice_t *n)
{
    r->serving = n->type == ENSIGN_NOTICE_HEALTH && n->as.health.state == ENSIGN_HEALTH_SERVING;
    if (n->type == ENSIGN_NOTICE_END) fail("the watch of health ended", words(n));
    if (n->type != ENSIGN_NOTICE_WAITING) return;
    r->waited = says(n, r->endpoint);
    note("the watch of health, WAITING: %s", words(n));
}

/* The answer to a Put has no field that a RangeResponse reads. */
static void take_unary(run_t *r, const ensign_notice_t *n)
{
    etcd_RangeResponse m = etcd_RangeResponse_init_zero;
    pb_istream_t s = pb_istream_from_buffer(n->as.reply.message.ptr, n->as.reply.message.len);

    r->unary_ended = true;
    r->status = n->as.reply.status;
    if (n->error) note("a unary call: %s", words(n));
    if (!pb_decode(&s, etcd_RangeResponse_fields, &m)) fail("decode", PB_GET_ERROR(&s));
    if (m.kvs_count != 1) return;
    snprintf(r->range, sizeof r->range, "%.*s", (int)m.kvs[0].value.size, (const char *)m.kvs[0].value.bytes);
}

static void take_all(run_t *r)
{
    const ensign_notice_t *n;

    while ((n = ensign_next(r->c)) != NULL) {
        if (n->handle == r->health.id) take_health(r, n);
        else if (n->handle == r->watch.id) take_watch(r, n);
        else if (n->handle == r->unary.id) take_unary(r, n);
    }
}

/* Until it holds, at most for so long. */
static bool until(run_t *r, bool (*holds)(const run_t *), uint32_t for_ms)
{
    const uint64_t end = ensign_now_ms() + for_ms;

    while (!holds(r) && ensign_now_ms() < end) {
        run_wait(r->c, end);
        take_all(r);
    }
    return holds(r);
}

static bool never(const run_t *r) { (void)r; return false; }
static bool is_answered(const run_t *r) { return r->unary_ended; }
static bool is_lost(const run_t *r) { return r->watch_ended && r->waited; }
static bool is_watched(const run_t *r) { return r->created > 0 && r->serving; }
static bool is_first(const run_t *r) { return strcmp(r->value, "first") == 0; }
static bool is_second(const run_t *r) { return strcmp(r->value, "second") == 0; }
static bool is_back(const run_t *r) { return r->created > 1 && is_second(r) && r->serving; }

/* ------------------------------------------------------------------ the run */
static void before(run_t *r)
{
    r->health = ensign_health(r->c, NULL, true, NULL);
    open_watch(r);
    result(until(r, is_watched, WAIT_MS), "etcd takes a streaming Watch call, and its health is SERVING");
    open_put(r, "first");
    result(until(r, is_answered, WAIT_MS) && r->status == ENSIGN_GRPC_OK && until(r, is_first, WAIT_MS),
           "the value of a Put comes to the Watch call");
}

static void without(run_t *r)
{
    uint64_t killed;

    stop_etcd(r);
    killed = ensign_now_ms();
    until(r, is_lost, WAIT_MS);
    result(r->lost, "killed: the Watch call ENDs UNAVAILABLE, and its text names the lost connection");
    result(r->waited, "the watch of health tells why it is WAITING");
    open_watch(r);
    open_put(r, "second");
    until(r, never, (uint32_t)(killed + AWAY_MS - ensign_now_ms()));
    result(!r->watch_ended && !r->unary_ended, "calls with wait_for_ready wait while there is no etcd");
}

static void after(run_t *r)
{
    uint64_t started = ensign_now_ms();

    start_etcd(r);
    result(until(r, is_answered, WAIT_MS) && r->status == ENSIGN_GRPC_OK,
           "started again: the Put that waited goes through");
    result(until(r, is_back, WAIT_MS), "so does the Watch call, behind the last event; health is SERVING");
    note("all is back %u ms after the start of etcd", (unsigned)(ensign_now_ms() - started));
    open_range(r);
    result(until(r, is_answered, WAIT_MS) && strcmp(r->range, "second") == 0, "a Range gives the new value");
}

/* A client that trusts the server, and has nothing to show it. */
static void without_certificate(const run_t *r)
{
    const ensign_notice_t *n;
    ensign_desc_t d = { .endpoint = r->endpoint, .tls.ca_file = r->ca };
    ensign_call_desc_t call = { .method = "/etcdserverpb.KV/Range", .unary = true, .deadline_ms = WAIT_MS };
    ensign_error_t why;
    ensign_t *c;

    if (ensign_create(&d, &c, &why) != ENSIGN_OK) fail("create", why.text);
    if (ensign_await(c, ensign_call_open(c, &call).id, WAIT_MS, &n) != ENSIGN_OK)
        fail("no answer without a certificate", ensign_error(c)->text);
    note("without a certificate: %s", words(n));
    result(n->as.reply.status == ENSIGN_GRPC_UNAVAILABLE && says(n, "certificate"),
           "without a certificate a call is UNAVAILABLE, and its text names the certificate");
    ensign_destroy(c);
}

int main(int argc, char **argv)
{
    static run_t r;
    ensign_desc_t d = { .tls.off = argc < 5 };

    run_start(argc, argv, argc < 5 ? 4 : 5, "etcd LABEL PROGRAM FOLDER [CERTIFICATES]");
    r.program = argv[2];
    r.folder = argv[3];
    r.certificates = argv[4]; /* the array ends in NULL */
    if (!first_start(&r)) fail("etcd does not start, see its log", r.log);
    d.endpoint = r.endpoint;
    r.c = run_client(&d);
    before(&r);
    without(&r);
    after(&r);
    if (r.certificates) without_certificate(&r);
    ensign_destroy(r.c);
    stop_etcd(&r);
    return run_failures > 0;
}
