/* ensignd - a development server for Ensign clients
 *
 * main.c     options, start, the loop, the end
 * options.c faults.c  the command line, faults on purpose; ../common/args.c reads it
 * files.c    what is written for the user    detach.c  in the background
 * dump.c load.c stored_json.c moved.c progress.c  the store as JSON lines, and back
 * loop.c     poll                            link.c tls.c cert.c  sockets, TLS
 * h2server.c connections, call.c calls       service.c unary.c query.c  the RPCs
 * publish.c subscribe.c streams.c            the RPCs that are streams
 * ensql.c    the query language, as the service reads it
 * select.c where.c field.c ensql_text.c      the same, as it is read and applied here
 * filter.c   a subscription's query at work
 * broker.c feed.c     events on their way into the log and out of it
 * group_stream.c group.c place.c kept.c      consumer groups: members, places in topics, records of those
 * dead_letter.c groups_rpc.c                 what they cannot deliver; the service Groups
 * topics.c   what topics there are
 * policy.c topic_state.c change.c            what changes topics
 * info.c numbers.c    what lies in them      jobs.c walk.c  long work in slices
 * rehash.c dedup_window.c dedup.c restore.c  duplicates: found, shrunk, made whole
 * auth.c keys.c  tokens and API keys         quarterdeck.c relay.c  the auth service
 * log.c log_now.c     what is kept           log_sqlite.c log_carry.c log_late.c log_nats.c  its engines
 * nats_append.c nats_read.c nats_records.c   what log_nats.c consists of
 * nats_link.c nats_consumer.c nats_text.c    how it talks with NATS
 * lib.c reply.c wrapper.c  the messages      reflection.c descriptors.c  what there is of them
 * ids.c util.c ../common/utf8.c  small things
 *
 * Options, each explained in --help. Where it listens, what it keeps: --port --unix --auth-port --listen
 * --data --store --store-timeout --replicas --project-prefix --memory --keys --tls --cert-file --client-ca
 * --env-file --dump --dump-all --load --dedup-window --subscriber-queue. Of consumer groups: --max-groups
 * --max-unacked --ack-wait --max-deliver.
 * How it runs: --detach --pid-file --log-file --verbose. How long tokens live: --access-life --refresh-life
 * --refresh-overlap --token-life. Just as the real server: --strict. What goes wrong on purpose: --nack-every
 * --nack-code --ack-delay --cut-after-bytes --cut-after-events --cut-first --refuse-auth --refuse-code
 * --maintenance --auth-maintenance.
 *
 * One turn of the loop: wait; take what has come; commit; tell publishers and subscribers; send. */
#include "detach.h"
#include "dump.h"
#include "files.h"
#include "group_stream.h"
#include "log_now.h"
#include "quarterdeck.h"
#include "service.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GRACE_MS 1000           /* each of the two steps of the end takes no longer */

#define AGAIN_S 30              /* so long behind --store-timeout an event may be stored, and not a second time */

typedef enum { RUN, DRAIN_PUBLISHERS, DRAIN_ALL, DONE } phase_t;

typedef struct server_t {
    options_t      options;
    loop_t         loop;
    log_t         *log;
    keyring_t      keys;
    auth_t        *auth;
    topics_t       topics;
    dedup_window_t *dedup;
    broker_t       broker;
    service_t      service;
    h2_server_t    h2;
    quarterdeck_t *quarterdeck;
    tls_identity_t identity;
    tls_server_t  *tls_h2, *tls_http;
    int            h2_fd, http_fd;      /* -1: none, or somebody else's */
    detach_t       caller;
    int            output;              /* what it tells goes there, once it is ready; -1: it stays */
    uint16_t       port, auth_port;
    char           endpoint[128], auth_url[96];
    bool           unix_made;           /* the file of --unix is there, and is ours */
    watch_t        signals, log_watch;
    phase_t        phase;
    int64_t        phase_end;
} server_t;

static int signal_pipe[2] = { -1, -1 };

static void on_signal(int number)
{
    int saved = errno;
    ssize_t n = write(signal_pipe[1], "", 1);
    (void)n;
    (void)number;
    errno = saved;
}

static bool catch_signals(why_t *why)
{
    struct sigaction a;

    memset(&a, 0, sizeof a);
    if (pipe(signal_pipe) != 0 || !set_nonblocking(signal_pipe[0]) || !set_nonblocking(signal_pipe[1]))
        return fail(why, "no pipe for signals: %s; allow the process more open files", strerror(errno));
    a.sa_handler = on_signal;
    sigaction(SIGTERM, &a, NULL);
    sigaction(SIGINT, &a, NULL);
    a.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &a, NULL);
    return true;
}

static void next_phase(server_t *s, phase_t phase)
{
    s->phase = phase;
    s->phase_end = now_ms() + GRACE_MS;
}

/* As long as we listen there, no other server takes the file for a stale one: so it is ours. */
static void remove_unix(server_t *s)
{
    if (s->unix_made) (void)unlink(s->options.unix_path);
    s->unix_made = false;
}

static void on_log(void *owner, short got)
{
    (void)owner;        /* each turn runs the log */
    (void)got;
}

/* The first signal ends in peace, the second at once. */
static void on_signal_byte(void *owner, short got)
{
    server_t *s = owner;
    char bytes[16];
    (void)got;

    while (read(signal_pipe[0], bytes, sizeof bytes) > 0) {}
    if (s->phase != RUN) {
        s->phase = DONE;
        return;
    }
    log_line("stopping");
    remove_unix(s);
    h2_stop(&s->h2);
    quarterdeck_stop(s->quarterdeck);
    next_phase(s, DRAIN_PUBLISHERS);
}

static void stop_call(void *user, call_t *c)
{
    service_stop_call(user, c);
}

static bool is_drained(const server_t *s)
{
    return s->h2.calls == 0 && h2_sent_all(&s->h2) && !(s->service.groups && groups_busy(s->service.groups));
}

/* Publishers first: what they still send is stored, and subscribers hear of it before they are sent away. */
static void move_phase(server_t *s)
{
    int64_t now = now_ms();

    if (s->phase == DRAIN_PUBLISHERS && (s->service.publishing == 0 || now >= s->phase_end)) {
        h2_each_call(&s->h2, stop_call, &s->service);
        next_phase(s, DRAIN_ALL);
    } else if (s->phase == DRAIN_ALL && (now >= s->phase_end || is_drained(s))) {
        s->phase = DONE;
    }
}

/* ---- start */

static bool open_keys(server_t *s, why_t *why)
{
    bool made = false;

    if (s->options.keys_file) return keyring_read_file(&s->keys, s->options.keys_file, why);
    if (!keyring_from_log(&s->keys, s->log, &made, why)) return false;
    keyring_watch(&s->keys, s->log);
    if (made)
        fprintf(stderr, "ensignd: made an API key: client_id=%s client_secret=%s\n",
                s->keys.keys[0].client_id, s->keys.keys[0].client_secret);
    return true;
}

static void take_setting(const log_t *l, const char *name, char **text)
{
    ensign_slice_t value;
    if (setting_get(l, name, &value)) *text = slice_dup(value);
}

/* The certificate is kept, so that clients which trust it go on after a restart. */
static bool open_tls(server_t *s, why_t *why)
{
    tls_identity_t *id = &s->identity;

    if (!s->options.tls) return true;
    take_setting(s->log, "tls-certificate", &id->certificate_pem);
    take_setting(s->log, "tls-key", &id->key_pem);
    if (!id->certificate_pem || !id->key_pem) {
        tls_identity_free(id);
        if (!tls_identity_make(id, why) ||
            !setting_put_now(s->log, "tls-key", slice_text(id->key_pem), why) ||
            !setting_put_now(s->log, "tls-certificate", slice_text(id->certificate_pem), why))
            return false;
    }
    s->tls_h2 = tls_server_open(id, "h2", s->options.client_ca, why);
    if (s->tls_h2) s->tls_http = tls_server_open(id, "http/1.1", NULL, why);
    return s->tls_http && write_file("--cert-file", s->options.cert_file, id->certificate_pem, why);
}

/* How clients on this machine reach it. TLS by name: mbedTLS 2.28 does not check certificates of
   addresses. */
static void name_addresses(server_t *s)
{
    const char *host = s->options.listen;

    if (strcmp(host, "0.0.0.0") == 0) host = "127.0.0.1";
    if (strcmp(host, "::") == 0) host = "::1";
    if (s->options.tls) host = "localhost";
    snprintf(s->endpoint, sizeof s->endpoint, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host,
             (unsigned)s->port);
    if (s->options.unix_path) name_unix(s->options.unix_path, s->endpoint, sizeof s->endpoint);
    snprintf(s->auth_url, sizeof s->auth_url, strchr(host, ':') ? "%s://[%s]:%u" : "%s://%s:%u",
             s->options.tls ? "https" : "http", host, (unsigned)s->auth_port);
}

static bool open_log(server_t *s, log_mode_t mode, why_t *why)
{
    const options_t *o = &s->options;

    const log_engine_t *engine = o->nats ? &log_nats : o->late ? &log_late : &log_sqlite;
    const char *where = o->nats ? o->nats : o->late ? o->late : o->data;
    int64_t window = o->store_timeout + AGAIN_S;

    if (o->dedup_window > window) window = o->dedup_window;
    log_nats_set(o->prefix ? o->prefix : "ensign", (int)o->replicas, window * 1000);
    s->log = log_open(engine, where, mode, o->store_timeout * 1000, why);
    return s->log != NULL;
}

/* The real server takes them and does nothing with them. */
static void open_groups(server_t *s)
{
    const options_t *o = &s->options;
    group_rules_t rules;

    if (o->strict) return;
    rules.max_groups = (size_t)o->max_groups;
    rules.max_unacked = (size_t)o->max_unacked;
    rules.ack_wait = o->ack_wait * 1000;
    rules.max_deliver = (uint32_t)o->max_deliver;
    groups_start(&s->service, &rules);
}

static void open_service(server_t *s)
{
    const options_t *o = &s->options;

    s->service.auth = s->auth;
    s->service.log = s->log;
    s->service.dedup = s->dedup;
    s->service.topics = &s->topics;
    s->service.broker = &s->broker;
    s->service.started = now_ms();
    s->service.feeds.log = s->log;
    s->service.feeds.topics = &s->topics;
    s->service.feeds.strict = o->strict;
    s->service.subscriber_queue = (size_t)o->subscriber_queue;
    s->service.strict = o->strict;
    s->service.maintenance = o->maintenance;
    s->service.faults = o->faults;
    open_groups(s);
    h2_open(&s->h2, &s->loop, s->h2_fd, s->tls_h2, &service_handler, &s->service);
    s->h2_fd = -1;
    s->h2.strict = o->strict;
    s->h2.cut_bytes = (uint64_t)o->faults.cut_bytes;
    s->h2.cut_events = (uint64_t)o->faults.cut_events;
    s->h2.cut_first = (uint64_t)o->faults.cut_first;
}

static bool open_quarterdeck(server_t *s, why_t *why)
{
    const options_t *o = &s->options;
    quarterdeck_rules_t rules;

    rules.rate_limited = o->strict;
    rules.maintenance = o->auth_maintenance;
    rules.refuse = o->faults.refuse_auth;
    rules.refuse_code = (unsigned)o->faults.refuse_code;
    s->quarterdeck = quarterdeck_open(&s->loop, s->http_fd, s->tls_http, s->auth, &s->keys, &rules, why);
    if (s->quarterdeck) s->http_fd = -1;
    return s->quarterdeck != NULL;
}

static bool open_listeners(server_t *s, why_t *why)
{
    const options_t *o = &s->options;

    s->h2_fd = o->unix_path ? listen_unix(o->unix_path, why) : listen_on(o->listen, o->port, &s->port, why);
    if (s->h2_fd < 0) return false;
    s->unix_made = o->unix_path != NULL;
    s->http_fd = listen_on(o->listen, o->auth_port, &s->auth_port, why);
    return s->http_fd >= 0;
}

static bool open_all(server_t *s, why_t *why)
{
    const options_t *o = &s->options;

    if (!output_open(o->log_file, o->detach, &s->output, why) || !catch_signals(why)) return false;
    if (!open_log(s, LOG_WRITE, why)) return false;
    if (!open_keys(s, why)) return false;
    if (!open_listeners(s, why) || !open_tls(s, why)) return false;
    name_addresses(s);
    if (!(s->auth = auth_open(s->log, s->auth_url, &o->lives, why))) return false;
    topics_open(&s->topics, s->log);
    s->dedup = dedup_window_open(s->log, &s->topics, o->strict ? 0 : o->dedup_window);
    broker_open(&s->broker, s->log, s->dedup, &publish_hooks);
    loop_add(&s->loop, &s->signals, signal_pipe[0], POLLIN, on_signal_byte, s);
    if (log_fd(s->log) >= 0) loop_add(&s->loop, &s->log_watch, log_fd(s->log), POLLIN, on_log, s);
    open_service(s);
    service_resume(&s->service);
    if (!open_quarterdeck(s, why)) return false;
    if (o->pid_file && !write_pid_file(o->pid_file, why)) return false;
    return !o->env_file || write_env_file(o, s->endpoint, s->auth_url, &s->keys, why);
}

static void close_all(server_t *s)
{
    remove_unix(s);
    h2_close(&s->h2);
    quarterdeck_close(s->quarterdeck);
    if (s->h2_fd >= 0) close(s->h2_fd);
    if (s->http_fd >= 0) close(s->http_fd);
    if (s->log) log_stop(s->log);
    service_free(&s->service);
    broker_close(&s->broker);
    dedup_window_close(s->dedup);
    topics_close(&s->topics);
    auth_close(s->auth);
    tls_server_close(s->tls_h2);
    tls_server_close(s->tls_http);
    tls_identity_free(&s->identity);
    keyring_free(&s->keys);
    log_close(s->log);
    loop_free(&s->loop);
    if (s->options.pid_file) remove_pid_file(s->options.pid_file);
    for (int i = 0; i < 2; i++)
        if (signal_pipe[i] >= 0) close(signal_pipe[i]);
}

/* ---- run */

static int earlier(int a, int64_t b)
{
    if (b < 0) b = 0;
    if (b > 60000) b = 60000;
    return a < 0 || b < a ? (int)b : a;
}

static int timeout_of(server_t *s)
{
    int64_t now = now_ms();
    int ms = quarterdeck_timeout(s->quarterdeck);

    if (s->h2.more || broker_waiting(&s->broker) || service_busy(&s->service) || jobs_pending(&s->service))
        return 0;
    if (s->h2.next_deadline) ms = earlier(ms, s->h2.next_deadline - now);
    if (service_due(&s->service)) ms = earlier(ms, service_due(&s->service) - now);
    if (s->service.groups && groups_due(s->service.groups))
        ms = earlier(ms, groups_due(s->service.groups) - now);
    if (log_due(s->log)) ms = earlier(ms, log_due(s->log) - now);
    if (s->phase != RUN) ms = earlier(ms, 20);
    return ms;
}

static bool turn(server_t *s)
{
    if (!loop_turn(&s->loop, timeout_of(s))) return false;
    h2_tick(&s->h2, now_ms());
    service_tick(&s->service, now_ms());
    quarterdeck_run(s->quarterdeck);
    move_phase(s);
    service_before_commit(&s->service);
    broker_commit(&s->broker);
    log_run(s->log);
    service_after_commit(&s->service);
    jobs_run(&s->service);
    h2_flush(&s->h2);
    service_after_sending(&s->service);
    if (!service_busy(&s->service)) h2_reap(&s->h2);
    return s->phase != DONE;
}

static int complain(const why_t *why)
{
    fprintf(stderr, "ensignd: %s\n", why->text);
    return 2;
}

/* All is open, and the files are written. */
static bool be_ready(server_t *s, why_t *why)
{
    output_take(s->output);
    s->output = -1;
    printf("ensignd: ready, endpoint %s, auth %s\n", s->endpoint, s->auth_url);
    fflush(stdout);
    return !s->options.detach || detach_ready(&s->caller, why);
}

static int serve(server_t *s)
{
    why_t why;
    int rc = 0;

    log_verbose(s->options.verbose);
    if (!s->options.data && !s->options.memory && !s->options.late && !s->options.nats)
        fprintf(stderr, "ensignd: keeps nothing; add --data FOLDER to keep events, topics and keys\n");
    if (s->options.detach && !detach_start(&s->caller, &why)) return complain(&why);
    if (open_all(s, &why) && be_ready(s, &why)) {
        while (turn(s)) {}
        log_line("ended: %llu events stored and delivered, %llu refused",
                 (unsigned long long)s->broker.total, (unsigned long long)s->broker.failed);
    } else {
        rc = complain(&why);
    }
    close_all(s);
    return rc;
}

static bool dump(server_t *s, why_t *why)
{
    return open_log(s, LOG_READ, why) && dump_lines(s->log, s->options.dump, s->options.strict, stdout, why);
}

static bool load(server_t *s, why_t *why)
{
    int fd = load_open(s->options.load, why);
    loaded_t n;

    if (fd < 0 || !open_log(s, LOG_WRITE, why) || !load_lines(s->log, fd, s->options.load, &n, why))
        return false;
    printf("ensignd: %" PRIu64 " events, %" PRIu64 " topics and %" PRIu64 " API keys were loaded\n", n.events,
           n.topics, n.keys);
    return true;
}

/* Between a store and JSON lines; nobody is served. */
static int carry(server_t *s)
{
    why_t why;
    int rc = 0;

    log_verbose(s->options.verbose);
    if (!(s->options.load ? load(s, &why) : dump(s, &why))) rc = complain(&why);
    log_close(s->log);
    return rc;
}

int main(int argc, char **argv)
{
    server_t *s = x_alloc(sizeof *s);
    why_t why;
    int rc = 0;

    json_set_alloc_funcs(x_alloc, free);        /* so JSON is never missing for want of memory */
    s->h2_fd = s->http_fd = s->caller.ready = s->output = -1;
    if (!options_read(&s->options, argc, argv, &why)) {
        rc = complain(&why);
    } else if (s->options.help) {
        options_help();
    } else if (options_carry(&s->options)) {
        rc = carry(s);
    } else {
        rc = serve(s);
    }
    free(s);
    return rc;
}
