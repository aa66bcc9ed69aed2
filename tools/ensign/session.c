/* session.c - see session.h */
#include "session.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define FIRST_LOOK_MS 100       /* while nothing is open yet: how often to look for a fault */

static struct { volatile sig_atomic_t number; int pipe[2]; } stop = { 0, { -1, -1 } };

/* ---- exit statuses */

int exit_of(const ensign_error_t *e)
{
    if (!e) return EXIT_FAILED;
    switch (e->code) {
    case ENSIGN_E_ARGUMENT: case ENSIGN_E_FILE: case ENSIGN_E_FORMAT:
        return EXIT_USAGE;
    case ENSIGN_E_UNKNOWN_TOPIC: case ENSIGN_E_NOT_FOUND: case ENSIGN_E_UNIMPLEMENTED:
        return EXIT_ABSENT;
    case ENSIGN_E_PERMISSION_DENIED: case ENSIGN_E_UNAUTHENTICATED: case ENSIGN_E_CREDENTIALS:
        return EXIT_DENIED;
    case ENSIGN_E_UNAVAILABLE: case ENSIGN_E_AUTH:
        return EXIT_LINK;
    case ENSIGN_E_DEADLINE_EXCEEDED: case ENSIGN_TIMEOUT:
        return EXIT_LATE;
    case ENSIGN_E_NACK:
        return exit_of_nack(e->native);
    case ENSIGN_E_PROTOCOL: /* native: an HTTP status, of a proxy that answers for the server */
        if (e->native == 401 || e->native == 403) return EXIT_DENIED;
        if (e->native == 404) return EXIT_ABSENT;
        break;
    }
    return e->code <= ENSIGN_E_RESOLVE && e->code > ENSIGN_E_GRPC ? EXIT_LINK : EXIT_FAILED;
}

int exit_of_nack(int code)
{
    if (code == ENSIGN_NACK_TOPIC_UNKNOWN || code == ENSIGN_NACK_TOPIC_DELETED) return EXIT_ABSENT;
    if (code == ENSIGN_NACK_PERMISSION_DENIED) return EXIT_DENIED;
    return EXIT_FAILED;
}

void session_fail(session_t *s, int status)
{
    if (s->status == EXIT_DONE) s->status = status;
}

/* The services' own state is told without a key. */
static bool is_keyless(const options_t *o)
{
    return o->command->run == run_health || (o->command->run == run_status && !o->auth);
}

static bool has_authorization(const list_t *headers)
{
    for (size_t i = 0; i < headers->count; i++)
        if (strncasecmp(headers->at[i], "authorization:", strlen("authorization:")) == 0) return true;
    return false;
}

/* The server did not take what was sent to show who we are: what was that? */
static const char *remedy_of_key(const session_t *s, bool denied)
{
    const options_t *o = s->o;

    if (has_authorization(&o->headers)) return "; change the authorization of --header";
    if (o->no_token) return "; leave out --no-token, so that the token of a key is sent";
    if (o->token) return "; give another --token, or a key: --credentials FILE";
    if (o->no_auth)
        return o->profile ? "; a key is needed, and no-auth (of the profile, or an option) leaves it out"
                          : "; a key is needed: leave out --no-auth";
    if (s->keyed && denied) return "; this key lacks the permission: use another one";
    if (s->keyed) return "; the key must be one of this server: check --endpoint and --auth-url";
    return is_keyless(o) ? "; give a key: --credentials FILE"
                         : "; give a key: --credentials FILE, or the two ENSIGN_CLIENT_ variables";
}

/* What can be done here about an error whose words are the server's. */
static const char *remedy(const session_t *s, int code)
{
    const options_t *o = s->o;

    switch (code) {
    case ENSIGN_E_ALREADY_EXISTS:
        if (o->command->run != run_topics_create) break;
        return "; give another name, or --if-missing to take the one that is there";
    case ENSIGN_E_PERMISSION_DENIED: return remedy_of_key(s, true);
    case ENSIGN_E_UNAUTHENTICATED: return remedy_of_key(s, false);
    case ENSIGN_E_UNIMPLEMENTED: return o->gzip ? "; the server may lack gzip: leave out --gzip" : "";
    case ENSIGN_E_DEADLINE_EXCEEDED:
        if (o->deadline_ms > 0) return "; a longer --deadline gives it more time";
        if (o->timeout_ms > 0) return "; a longer --timeout gives it more time";
        break;
    }
    return "";
}

/* The library's words name fields of its descs: a field that an option sets gets the name of the option here.
 * What is returned stands until the next call. */
static const char *in_options(const char *text)
{
    static const struct { const char *field, *option; } known[] = {
        { "tls.ca_file or tls.ca_pem", "--ca-file" }, { "tls.ca_file or ca_pem", "--ca-file" },
        { "tls.cert_file or cert_pem", "--cert" }, { "tls.key_file or key_pem", "--cert-key" },
        { "tls.cert_file", "--cert" }, { "tls.key_file", "--cert-key" }, { "tls.min_version", "--min-tls" },
        { "tls.key_password", "ENSIGN_KEY_PASSWORD" },
        { "tls.ca_file", "--ca-file" }, { "tls.server_name", "--server-name" }, { "tls.off", "--plaintext" },
        { "allow_plaintext_token", "--allow-plaintext-token" }, { "keepalive_ms", "--keepalive" },
        { "open_timeout_ms", "--open-timeout" }, { "request_timeout_ms", "--request-timeout" },
        { "no_proxy", "--no-proxy" }, { "set proxy to", "set --proxy to" },
        { "is proxy (", "is --proxy (" }, { "change proxy (", "change --proxy (" },
        { "of proxy (", "of --proxy (" }, { "set ENSIGN_TLS_1_2", "give --min-tls 1.2" },
        { "ca_file ", "--ca-file " }, { "cert_file ", "--cert " }, { "key_file ", "--cert-key " },
        { "connect_timeout_ms", "--connect-timeout" }, { "give_up_after_ms", "--retry" },
        { "retry.max_attempts", "--attempts" }, { "max_event_bytes allows", "the most is" },
        { "max_message_bytes", "--max-message" }, { "max_send_bytes", "--max-message" },
        { "authority", "--authority" }, { "auth_url", "--auth-url" },
    };
    static char out[sizeof ((ensign_error_t *)0)->text + 64];
    size_t at = 0;

    while (*text != '\0' && at + 1 < sizeof out) {
        size_t i = 0;
        while (i < COUNT_OF(known) && strncmp(text, known[i].field, strlen(known[i].field)) != 0) i++;
        if (i == COUNT_OF(known)) {
            out[at++] = *text++;
            continue;
        }
        at += (size_t)snprintf(out + at, sizeof out - at, "%s", known[i].option);
        if (at >= sizeof out) at = sizeof out - 1;
        text += strlen(known[i].field);
    }
    out[at] = '\0';
    return out;
}

void session_error(session_t *s, const char *what, const ensign_error_t *e)
{
    const char *text = e && e->text[0] != '\0' ? e->text : "no reason was given";

    complain("%s%s%s%s", what ? what : "", what ? ": " : "", in_options(text), e ? remedy(s, e->code) : "");
    if (e && e->code == ENSIGN_E_UNIMPLEMENTED && s->o->gzip) session_fail(s, EXIT_FAILED);
    session_fail(s, exit_of(e));
}

/* ---- signals */

static void on_signal(int number)
{
    int saved = errno;

    if (stop.number != 0) _exit(EXIT_SIGNAL + number);
    stop.number = number;
    (void)!write(stop.pipe[1], "", 1);
    errno = saved;
}

int stop_signal(void)
{
    return stop.number;
}

static bool signals_setup(void)
{
    struct sigaction act;

    if (stop.pipe[0] >= 0) return true;
    if (pipe(stop.pipe) != 0) return false;
    for (int i = 0; i < 2; i++) {
        fcntl(stop.pipe[i], F_SETFD, FD_CLOEXEC);
        fcntl(stop.pipe[i], F_SETFL, O_NONBLOCK);
    }
    memset(&act, 0, sizeof act);
    act.sa_handler = on_signal;
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    act.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &act, NULL); /* EPIPE says it, too */
    return true;
}

/* ---- opening */

/* What the library logs. Warnings about a lost link come as a notice as well: only the others are said. */
static void on_log(void *user, int level, const char *text)
{
    const session_t *s = user;
    int shown = s->o->verbose > 1 ? ENSIGN_LOG_DEBUG : s->o->verbose > 0 ? ENSIGN_LOG_INFO : 0;

    if (level <= shown) say("%s", text);
}

/* Each frame, with the time since the command began. */
static void on_trace(void *user, const ensign_frame_t *frame)
{
    const session_t *s = user;
    char text[1600];

    ensign_frame_text(frame, text, sizeof text);
    say("%5llu ms %s", (unsigned long long)(ensign_now_ms() - s->started_ms), text);
}

/* Options and the profile stand in the desc already; the file fills what they leave, the environment what
 * that leaves. The `credentials` of a profile are such a file. */
static bool credentials(const options_t *o, ensign_desc_t *d, ensign_error_t *why)
{
    static char strings[4096]; /* of the file; the desc points there until create has copied them */

    if (o->credentials && ensign_desc_file(d, o->credentials, strings, sizeof strings, why) != ENSIGN_OK)
        return false;
    if (ensign_desc_env(d, why) != ENSIGN_OK) return false;
    if (o->no_auth) d->client_id = d->client_secret = NULL; /* a token was asked for by an option */
    if (o->with_tls) d->tls.off = false;
    return true;
}

static bool is_of_environment(const char *value, const char *name)
{
    return value && value == getenv(name);
}

/* The environment's key and auth service belong to its ENSIGN_ENDPOINT. Where that is another server than the
 * profile's, neither goes there. */
static bool environment_fits(const options_t *o, const ensign_desc_t *d)
{
    const char *endpoint = getenv("ENSIGN_ENDPOINT"), *lacks = NULL, *add = NULL;

    if (!o->profile_endpoint || !endpoint || endpoint[0] == '\0' || strcmp(endpoint, o->endpoint) == 0)
        return true;
    if (!d->client_id) return true;
    if (is_of_environment(d->client_id, "ENSIGN_CLIENT_ID") ||
        is_of_environment(d->client_secret, "ENSIGN_CLIENT_SECRET")) {
        lacks = "key";
        add = "credentials = FILE, or client-id and client-secret, or no-auth = true";
    } else if (is_of_environment(d->auth_url, "ENSIGN_AUTH_URL")) {
        lacks = "auth service";
        add = "auth-url = URL";
    }
    if (!lacks) return true;
    complain("profile %s names %s and no %s, and that of the environment belongs to another server "
             "(ENSIGN_ENDPOINT); add to the profile: %s",
             o->profile, o->endpoint, lacks, add);
    return false;
}

static bool server_is_named(const ensign_desc_t *d)
{
    if (d->endpoint || d->client_id) return true;
    complain("which server? give --endpoint HOST:PORT, or set ENSIGN_ENDPOINT; with a key it is the hosted "
             "one");
    return false;
}

static uint32_t ms32(uint64_t ms)
{
    return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX - 1;
}

static void fill_desc(const session_t *s, ensign_desc_t *d)
{
    const options_t *o = s->o;

    d->endpoint = o->endpoint;
    d->shuffle_endpoints = o->shuffle;
    d->auth_url = o->auth_url;
    d->proxy = o->proxy;
    d->no_proxy = o->no_proxy;
    d->client_id = o->client_id;
    d->client_secret = o->client_secret;
    d->token = o->token;
    d->authority = o->authority;
    d->name = o->name;
    d->topic_cache = 4096; /* info needs the names of all */
    d->user_agent = "ensign-cli/" ENSIGN_VERSION;
    d->allow_plaintext_token = o->allow_plaintext_token;
    d->tls.off = o->plaintext;
    d->tls.ca_file = d->auth_tls.ca_file = o->ca_file;
    d->tls.server_name = o->server_name;
    d->tls.cert_file = o->cert_file;
    d->tls.key_file = o->key_file;
    if (o->min_tls > 0) d->tls.min_version = o->min_tls > 1 ? ENSIGN_TLS_1_3 : ENSIGN_TLS_1_2;
    d->auth_tls.min_version = d->tls.min_version;
    d->tls.insecure_skip_verify = d->auth_tls.insecure_skip_verify = o->insecure_skip_verify;
    d->connect_timeout_ms = ms32(o->connect_timeout_ms);
    d->request_timeout_ms = ms32(o->request_timeout_ms);
    d->keepalive_ms = ms32(o->keepalive_ms);
    d->open_timeout_ms = ms32(o->open_timeout_ms);
    if (!s->patient || o->retry_given) d->give_up_after_ms = o->retry_ms > 0 ? ms32(o->retry_ms) : 1;
    d->user = (void *)(uintptr_t)s;
    d->log = on_log;
    if (o->verbose > 2) d->trace = on_trace;
}

/* A command that needs no key leaves one that only the environment has alone. The attempts of a
 * call are its own limit, also where the server cannot be reached. */
static void suit_command(const options_t *o, ensign_desc_t *d)
{
    bool given = o->client_id || o->credentials || o->token;

    if (is_keyless(o) && !given && d->endpoint) d->client_id = d->client_secret = d->token = NULL;
    if (o->command->run == run_call && !o->retry_given && (o->attempts > 1 || d->retry.max_attempts > 1))
        d->give_up_after_ms = 0;
}

bool session_open(session_t *s, const options_t *o, bool patient)
{
    ensign_desc_t d;
    ensign_error_t why;

    memset(s, 0, sizeof *s);
    memset(&d, 0, sizeof d);
    s->o = o;
    s->patient = patient;
    s->started_ms = ensign_now_ms();
    fill_desc(s, &d);
    if (!signals_setup()) {
        complain("no pipe for signals: %s", strerror(errno));
        session_fail(s, EXIT_FAILED);
        return false;
    }
    if (o->insecure_skip_verify) say("certificates are not checked: anybody on the way can read along");
    if (!credentials(o, &d, &why)) session_error(s, NULL, &why);
    else if (server_is_named(&d)) {
        suit_command(o, &d);
        if (!environment_fits(o, &d)) return session_fail(s, EXIT_USAGE), false;
        s->keyed = d.client_id != NULL;
        if (ensign_create(&d, &s->c, &why) == ENSIGN_OK) return true;
        session_error(s, NULL, &why);
    }
    session_fail(s, EXIT_USAGE);
    return false;
}

int session_end(session_t *s)
{
    out_flush();
    if (out_failed() == EPIPE) {
        s->status = EXIT_SIGNAL + SIGPIPE;
    } else if (out_failed() != 0) {
        complain("standard output: %s", strerror(out_failed()));
        session_fail(s, EXIT_FAILED);
    }
    ensign_destroy(s->c);
    s->c = NULL;
    return s->status;
}

/* ---- waiting */

/* Is this why nothing comes, and was it not said already? Then it is noted. */
static bool is_new_reason(session_t *s, const char *text)
{
    if (strcmp(s->reason, text) == 0) return false;
    snprintf(s->reason, sizeof s->reason, "%s", text);
    return true;
}

/* Something has come: a wait after this one is another one, though its reason be the same. */
static void forget_reason(session_t *s)
{
    s->reason[0] = '\0';
}

void session_late(session_t *s, uint32_t handle)
{
    const ensign_notice_t *n;
    int rc = ensign_await(s->c, handle, 0, &n);
    const ensign_error_t *why = rc == ENSIGN_OK ? n->error : ensign_error(s->c);

    complain("the stream did not open: %s", why ? in_options(why->text) : "it opened just then");
    session_fail(s, EXIT_LATE);
}

/* retry_in_ms: as WAITING and DISCONNECTED have it; NULL: not known. */
static void say_reason(session_t *s, const ensign_error_t *why, const uint32_t *retry_in_ms)
{
    const char *text = in_options(why->text);
    char time[NUMBER_TEXT];

    if (!is_new_reason(s, why->text)) return;
    if (!retry_in_ms) say("waits: %s", text);
    else if (*retry_in_ms == 0) say("waits: %s; next attempt now", text);
    else if (*retry_in_ms == ENSIGN_FOREVER) say("waits: %s; next attempt with the next event", text);
    else say("waits: %s; next attempt in %s", text, text_duration(*retry_in_ms / 1000.0, time));
}

/* Was a stream open? One that broke before we pulled its OPEN never told so: then what it has moved does. */
static bool was_open(session_t *s)
{
    ensign_stats_t stats;

    if (!s->settled && ensign_stats(s->c, ENSIGN_CLIENT, &stats) == ENSIGN_OK)
        s->settled = stats.acked + stats.received > 0;
    return s->settled;
}

/* Nothing was open yet, and a fault is there: is the time for that over? */
static bool gives_up(session_t *s, const ensign_error_t *fault)
{
    if (!s->patient || was_open(s) || !fault || fault->code == ENSIGN_TIMEOUT) return false;
    if (ensign_now_ms() - s->started_ms < s->o->retry_ms) return false;
    session_error(s, NULL, fault);
    s->over = true;
    return true;
}

/* Does the command go on after this fault? One that does not says it as its error, a little later. Before the
 * first stream is open publish and subscribe end when the server or the auth service cannot be reached. */
static bool goes_on(session_t *s, const ensign_error_t *fault)
{
    if (s->over) return false;
    if (s->o->retry_ms > 0 || !s->patient) return s->o->retry_ms > 0;
    return was_open(s) || (s->connected && fault->code != ENSIGN_E_AUTH);
}

/* Requests have no WAITING: what a wait has met tells why no answer comes. */
static void look_for_reason(session_t *s)
{
    const ensign_error_t *why = ensign_error(s->c);
    if (!s->patient && why->code != ENSIGN_TIMEOUT && goes_on(s, why)) say_reason(s, why, NULL);
}

static bool stop_now(session_t *s)
{
    if (s->told || (stop.number == 0 && out_failed() == 0)) return false;
    s->told = true;
    if (stop.number != 0) s->status = EXIT_SIGNAL + stop.number;
    else session_fail(s, EXIT_FAILED); /* session_end says what became of standard output */
    return true;
}

static void drain_stop_pipe(void)
{
    char byte;
    while (read(stop.pipe[0], &byte, 1) == 1) continue;
}

woke_t session_wait(session_t *s, int fd, int ms)
{
    ensign_poll_t extra[3] = { { stop.pipe[0], 0, ENSIGN_READ, 0 }, { -1, 0, ENSIGN_READ, 0 },
                               { -1, 0, 0, 0 } };
    bool look = (s->patient || s->o->retry_ms > 0) && !s->settled && (ms < 0 || ms > FIRST_LOOK_MS);
    int rc;

    out_flush();
    if (stop_now(s)) return WOKE_STOP;
    if (s->over) return WOKE_OVER;
    extra[1].fd = fd;
    if (out_is_pipe() && !s->told) extra[2].fd = STDOUT_FILENO;
    rc = ensign_wait(s->c, extra, COUNT_OF(extra), look ? FIRST_LOOK_MS : ms);
    if (extra[0].ready) drain_stop_pipe();
    if (extra[2].ready & ENSIGN_HUP) out_note_closed(); /* nobody reads it any more */
    if (rc < 0) {
        session_error(s, NULL, ensign_error(s->c));
        s->over = true;
        return WOKE_OVER;
    }
    if (rc == ENSIGN_TIMEOUT && gives_up(s, ensign_error(s->c))) return WOKE_OVER;
    if (stop_now(s)) return WOKE_STOP;
    if (rc == ENSIGN_TIMEOUT && look) look_for_reason(s);
    if (rc == ENSIGN_TIMEOUT) return look ? WOKE_NOTICE : WOKE_TIME;
    return extra[1].ready ? WOKE_INPUT : WOKE_NOTICE;
}

/* ---- notices */

static void take_lost(session_t *s, const ensign_notice_t *n)
{
    s->connected = false;
    if (!s->patient) { /* attempts can follow each other faster than look_for_reason looks */
        if (goes_on(s, n->error)) say_reason(s, n->error, &n->as.disconnected.retry_in_ms);
        return;
    }
    if (s->lost || gives_up(s, n->error)) return;
    s->lost = true;
    say_reason(s, n->error, &n->as.disconnected.retry_in_ms);
}

/* What is known of the newest connection to the server. */
static void say_connection(const session_t *s)
{
    static const int links[] = { ENSIGN_LINK_RPC, ENSIGN_LINK_RPC_2 };
    ensign_link_info_t newest, info;
    bool any = false;

    memset(&newest, 0, sizeof newest);
    for (size_t i = 0; i < COUNT_OF(links); i++) {
        if (ensign_link_info(s->c, links[i], &info) != ENSIGN_OK) continue;
        if (any && info.age_ms > newest.age_ms) continue;
        newest = info;
        any = true;
    }
    if (!any) return;
    say("connection: %s at %s%s%s, %s%s%s%s%s%s", newest.endpoint, newest.address ? newest.address : "?",
        newest.proxy ? " by " : "", newest.proxy ? newest.proxy : "",
        newest.tls_version ? newest.tls_version : "plaintext", newest.cipher ? ", " : "",
        newest.cipher ? newest.cipher : "", newest.alpn ? ", ALPN " : "", newest.alpn ? newest.alpn : "",
        newest.resumed ? ", resumed" : "");
}

static void take_own(session_t *s, const ensign_notice_t *n)
{
    if (n->type == ENSIGN_NOTICE_CONNECTED) {
        if (s->o->verbose > 1) say_connection(s);
        if (s->lost && s->settled) say("connected again");
        s->lost = false;
        s->connected = true;
        forget_reason(s);
    }
    if (n->type == ENSIGN_NOTICE_DISCONNECTED) take_lost(s, n);
    if (n->type == ENSIGN_NOTICE_FAILED) {
        if (s->status == EXIT_DONE) session_error(s, NULL, n->error);
        s->over = true;
    }
    if (n->type == ENSIGN_NOTICE_CLOSED) s->over = true;
}

/* A lost connection is the client's to tell first, in words of its own. */
static void take_waiting(session_t *s, const ensign_notice_t *n)
{
    const ensign_notice_t *own;

    while ((own = ensign_next_of(s->c, ENSIGN_CLIENT)) != NULL) take_own(s, own);
    if (goes_on(s, n->error) || (s->tells_waits && n->as.waiting.failures > 0 && !s->over))
        say_reason(s, n->error, &n->as.waiting.retry_in_ms);
}

const ensign_notice_t *session_pull(session_t *s)
{
    const ensign_notice_t *n;

    while ((n = ensign_next(s->c)) != NULL) {
        if (n->type == ENSIGN_NOTICE_WAITING) {
            take_waiting(s, n);
        } else if (n->handle == ENSIGN_CLIENT) {
            take_own(s, n);
        } else {
            if (n->type == ENSIGN_NOTICE_OPEN || n->type == ENSIGN_NOTICE_HEALTH) s->settled = true;
            forget_reason(s);
            return n;
        }
    }
    return NULL;
}

const ensign_notice_t *session_next(session_t *s, uint32_t handle)
{
    if (handle == 0) {
        session_error(s, NULL, ensign_error(s->c));
        return NULL;
    }
    for (;;) {
        const ensign_notice_t *n = session_pull(s);
        woke_t woke = WOKE_NOTICE;
        if (n && n->handle == handle) return n;
        if (!n) woke = session_wait(s, -1, -1);
        if (woke == WOKE_STOP || woke == WOKE_OVER) return NULL;
    }
}

const ensign_notice_t *session_answer(session_t *s, uint32_t handle, const ensign_notice_t **end)
{
    const ensign_notice_t *n = session_next(s, handle);

    if (end) *end = NULL;
    if (!n || n->type != ENSIGN_NOTICE_END) return n;
    if (n->error) session_error(s, NULL, n->error);
    else if (end) *end = n;
    return NULL;
}

/* ---- names, topics */

/* What is typed must be the name, as it was given: a "y" comes too easily. */
static bool confirmed(const char *kind, const char *name, const char *with)
{
    char line[600];

    fprintf(stderr, "This destroys %s %s and %s. Type its name again to go on: ", kind, name, with);
    fflush(stderr);
    if (!fgets(line, sizeof line, stdin)) return false;
    line[strcspn(line, "\n")] = '\0';
    return strcmp(line, name) == 0;
}

int confirm_removal(const options_t *o, const char *kind, const char *name, const char *with)
{
    if (o->yes) return EXIT_DONE;
    if (isatty(STDIN_FILENO) != 1)
        return options_refuse(o, "this destroys %s and %s, and there is no terminal to ask at; add --yes",
                              name, with);
    if (confirmed(kind, name, with)) return EXIT_DONE;
    complain("nothing was destroyed");
    return EXIT_FAILED;
}

const char *session_name(int names, int number)
{
    static char room[4][32];
    static unsigned next;
    char *out = room[next++ % COUNT_OF(room)];
    const char *name = ensign_enum_name(names, number);
    size_t i;

    for (i = 0; name[i] != '\0' && i + 1 < sizeof room[0]; i++)
        out[i] = (char)(name[i] == '_' ? '-' : tolower((unsigned char)name[i]));
    out[i] = '\0';
    return out;
}

bool topic_is_id(const char *topic, ensign_ulid_t *id)
{
    return topic[0] >= '0' && topic[0] <= '9' && ensign_ulid_parse(ensign_str(topic), id) == ENSIGN_OK;
}

bool session_topic(session_t *s, const char *topic, ensign_ulid_t *id)
{
    const ensign_notice_t *n;

    if (topic_is_id(topic, id)) return true;
    n = session_answer(s, ensign_topic_by_name(s->c, topic, NULL).id, NULL);
    if (!n) return false;
    *id = n->as.topic->id;
    return true;
}

bool topic_is_queryable(const char *name)
{
    static const char *const words[] = { "select", "from", "where", "as", "offset", "limit", "and", "or",
                                         "like", "ilike" };
    static const char *const truths[] = { "t", "T", "true", "True", "TRUE", "f", "F", "false", "False",
                                          "FALSE" };

    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (strncasecmp(name, words[i], strlen(words[i])) == 0) return false;
    for (size_t i = 0; i < COUNT_OF(truths); i++)
        if (strcmp(name, truths[i]) == 0) return false;
    return strchr(name, '.') == NULL;
}
