/* tls.c - what a client makes of servers whose TLS is wrong, over sockets, on both links
 *
 * Client and server share one thread and one poll loop. The server is mbedTLS with certificates made here, or
 * speaks in the clear; it keeps all that it hears, so that a test can tell what the client gave away. */
#define _POSIX_C_SOURCE 200809L
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>
#include "../certs.h"

enum { TURNS = 4000, TURN_MS = 50, HEARD_MAX = 65536, HEADERS = 1, FRAME_HEAD = 9, TLS_HANDSHAKE = 0x16 };

/* What each server shows. `http1`: it talks HTTP/1.1, as the auth service does. */
typedef struct kind_t {
    certs_t *cert;    /* NULL: it speaks in the clear */
    const char *alpn; /* NULL: none */
    bool http1;
} kind_t;

typedef struct server_t {
    kind_t kind;
    int listener, peer; /* -1: none */
    uint16_t port;
    uint64_t seed;
    mbedtls_ssl_config config;
    mbedtls_ssl_context ssl;
    mbedtls_x509_crt chain;
    const char *alpn[2];
    bool open, shaken, greeted;
    mbedtls_ssl_ticket_context tickets;
    mbedtls_x509_crt clients;   /* empty, or each client must have a certificate that this one signed */
    bool closes;                /* its answer of HTTP/1.1 has no length, and goes on until close_notify */
    uint8_t heard[HEARD_MAX];   /* of the program's bytes: behind TLS, if there is TLS */
    size_t heard_len, wire_len; /* wire: all bytes that came */
    uint8_t wire[8];            /* the first of them */
} server_t;

typedef struct case_t { /* a server that must be refused */
    const char *name;
    kind_t kind;
    bool plain; /* the client speaks in the clear */
    int code;
    const char *says, *advice; /* what is wrong, and what to do */
} case_t;

static certs_t ca, good, expired, self_signed, elsewhere;
static const char token[] = "a-token-that-nobody-else-may-see";
static const char secret[] = "a-secret-that-nobody-else-may-see";
static server_t server;
static ensign_t *client;
static ensign_error_t why;

/* ------------------------------------------------------------------ the server */
static int listen_on_loopback(uint16_t *port)
{
    struct sockaddr_in a;
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static int server_send(void *arg, const unsigned char *p, size_t n)
{
    ssize_t k = send(((server_t *)arg)->peer, p, n, MSG_NOSIGNAL);
    if (k < 0 && errno == EAGAIN) return MBEDTLS_ERR_SSL_WANT_WRITE;
    return k < 0 ? MBEDTLS_ERR_SSL_CONN_EOF : (int)k;
}

static int server_recv(void *arg, unsigned char *p, size_t n)
{
    server_t *s = (server_t *)arg;
    ssize_t k = recv(s->peer, p, n, 0);
    if (k < 0 && errno == EAGAIN) return MBEDTLS_ERR_SSL_WANT_READ;
    if (k <= 0) return MBEDTLS_ERR_SSL_CONN_EOF;
    for (ssize_t i = 0; i < k && s->wire_len + (size_t)i < sizeof s->wire; i++)
        s->wire[s->wire_len + (size_t)i] = p[i];
    s->wire_len += (size_t)k;
    return (int)k;
}

static void server_configure(server_t *s)
{
    s->alpn[0] = s->kind.alpn;
    mbedtls_ssl_config_init(&s->config);
    mbedtls_x509_crt_init(&s->chain);
    mbedtls_x509_crt_init(&s->clients);
    mbedtls_ssl_ticket_init(&s->tickets);
    if (!s->kind.cert) return;
    assert_int_equal(mbedtls_ssl_config_defaults(&s->config, MBEDTLS_SSL_IS_SERVER,
                                                 MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT),
                     0);
    assert_int_equal(mbedtls_x509_crt_parse(&s->chain, (const unsigned char *)s->kind.cert->pem,
                                            strlen(s->kind.cert->pem) + 1),
                     0);
    mbedtls_ssl_conf_rng(&s->config, certs_random, &s->seed);
    assert_int_equal(mbedtls_ssl_conf_own_cert(&s->config, &s->chain, &s->kind.cert->key), 0);
    if (s->alpn[0]) assert_int_equal(mbedtls_ssl_conf_alpn_protocols(&s->config, s->alpn), 0);
}

static void server_start(kind_t kind)
{
    memset(&server, 0, sizeof server);
    server.kind = kind;
    server.peer = -1;
    server.listener = listen_on_loopback(&server.port);
    server_configure(&server);
}

/* From here on its clients can resume. Called again it has new keys, as after a restart. */
static void server_give_tickets(server_t *s)
{
    mbedtls_ssl_ticket_free(&s->tickets);
    mbedtls_ssl_ticket_init(&s->tickets);
    assert_int_equal(mbedtls_ssl_ticket_setup(&s->tickets, certs_random, &s->seed, MBEDTLS_CIPHER_AES_256_GCM,
                                              3600), 0);
    mbedtls_ssl_conf_session_tickets_cb(&s->config, mbedtls_ssl_ticket_write, mbedtls_ssl_ticket_parse,
                                        &s->tickets);
}

/* From here on its clients must show a certificate that this one signed. */
static void server_ask_clients(server_t *s, const certs_t *issuer)
{
    assert_int_equal(
        mbedtls_x509_crt_parse(&s->clients, (const unsigned char *)issuer->pem, strlen(issuer->pem) + 1), 0);
    mbedtls_ssl_conf_ca_chain(&s->config, &s->clients, NULL);
    mbedtls_ssl_conf_authmode(&s->config, MBEDTLS_SSL_VERIFY_REQUIRED);
}

static void server_hang_up(server_t *s)
{
    if (s->peer >= 0) close(s->peer);
    if (s->open) mbedtls_ssl_free(&s->ssl);
    s->peer = -1;
    s->open = s->shaken = s->greeted = false;
}

static void server_stop(server_t *s)
{
    server_hang_up(s);
    close(s->listener);
    mbedtls_ssl_config_free(&s->config);
    mbedtls_ssl_ticket_free(&s->tickets);
    mbedtls_x509_crt_free(&s->clients);
    mbedtls_x509_crt_free(&s->chain);
}

static void server_accept(server_t *s)
{
    if (s->peer >= 0) return;
    s->peer = accept(s->listener, NULL, NULL);
    assert_true(s->peer >= 0);
    assert_int_equal(fcntl(s->peer, F_SETFL, O_NONBLOCK), 0);
    s->shaken = s->kind.cert == NULL;
    if (s->shaken) return;
    mbedtls_ssl_init(&s->ssl);
    s->open = true;
    assert_int_equal(mbedtls_ssl_setup(&s->ssl, &s->config), 0);
    mbedtls_ssl_set_bio(&s->ssl, s, server_send, server_recv, NULL);
}

static bool server_again(int rc)
{
    return rc == MBEDTLS_ERR_SSL_WANT_READ || rc == MBEDTLS_ERR_SSL_WANT_WRITE;
}

static void server_write(server_t *s, const void *p, size_t n)
{
    const unsigned char *bytes = (const unsigned char *)p;
    int rc = s->open ? mbedtls_ssl_write(&s->ssl, bytes, n) : server_send(s, bytes, n);
    assert_int_equal(rc, n);
}

/* A token to whoever asks the auth service; SETTINGS, then "unimplemented" to the first call of HTTP/2. */
static void server_answer(server_t *s)
{
    static const uint8_t settings[] = { 0, 0, 0, 4, 0, 0, 0, 0, 0 };
    static const char http1[] = "HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n{\"access_token\":\"a.b.c\"}";
    static const char until_close[] = "HTTP/1.1 200 OK\r\n\r\n{\"access_token\":\"a.b.c\"}";

    if (s->greeted) return;
    if (s->kind.http1 && (s->heard_len == 0 || s->heard[s->heard_len - 1] != '}')) return;
    s->greeted = true;
    if (s->closes) {
        server_write(s, until_close, sizeof until_close - 1);
        assert_int_equal(mbedtls_ssl_close_notify(&s->ssl), 0);
    } else if (s->kind.http1)
        server_write(s, http1, sizeof http1 - 1);
    else
        server_write(s, settings, sizeof settings);
}

/* Where the first bytes are no TLS, mbedTLS leaves without a word; OpenSSL and others send this. What is not
 * read here would make the end a reset. */
static void server_alert(server_t *s)
{
    static const uint8_t protocol_version[] = { 0x15, 3, 3, 0, 2, 2, 70 };
    unsigned char rest[256];
    while (server_recv(s, rest, sizeof rest) > 0) continue;
    assert_int_equal(server_send(s, protocol_version, sizeof protocol_version), sizeof protocol_version);
}

static void server_step(server_t *s)
{
    int rc = 0;

    if (!s->shaken) {
        rc = mbedtls_ssl_handshake(&s->ssl);
        s->shaken = rc == 0;
        if (rc != 0 && !server_again(rc) && s->wire[0] != TLS_HANDSHAKE) server_alert(s);
    }
    while (s->shaken) {
        uint8_t *to = s->heard + s->heard_len;
        size_t room = sizeof s->heard - s->heard_len;
        server_answer(s);
        rc = s->open ? mbedtls_ssl_read(&s->ssl, to, room) : server_recv(s, to, room);
        if (rc <= 0) break;
        s->heard_len += (size_t)rc;
    }
    if (!server_again(rc)) server_hang_up(s); /* the client left, or mbedTLS has told it by an alert */
}

/* ------------------------------------------------------------------ one turn of the loop, for both */
static void turn(void)
{
    ensign_poll_t set[ENSIGN_MAX_FDS];
    struct pollfd p[ENSIGN_MAX_FDS + 1];
    int count = ensign_poll_set(client, set), due = ensign_timeout(client, ensign_now_ms());

    for (int i = 0; i < count; i++) {
        p[i].fd = set[i].want & ENSIGN_GONE ? -1 : (int)set[i].fd;
        p[i].events =
            (short)((set[i].want & ENSIGN_READ ? POLLIN : 0) | (set[i].want & ENSIGN_WRITE ? POLLOUT : 0));
        p[i].revents = 0;
    }
    p[count].fd = server.peer >= 0 ? server.peer : server.listener;
    p[count].events = POLLIN;
    p[count].revents = 0;
    assert_true(poll(p, (nfds_t)count + 1, due < 0 || due > TURN_MS ? TURN_MS : due) >= 0);
    for (int i = 0; i < count; i++) {
        set[i].ready = (p[i].revents & POLLIN ? ENSIGN_READ : 0) |
                       (p[i].revents & POLLOUT ? ENSIGN_WRITE : 0) |
                       (p[i].revents & (POLLHUP | POLLERR) ? ENSIGN_HUP : 0);
    }
    if (p[count].revents && server.peer < 0) server_accept(&server);
    if (server.peer >= 0) server_step(&server);
    assert_int_equal(ensign_step(client, set, (size_t)count, ensign_now_ms()), ENSIGN_OK);
}

/* The next notice of the client itself that is of this type; its error goes to `why`. */
static void until(ensign_notice_type_t type)
{
    for (int i = 0; i < TURNS; i++) {
        const ensign_notice_t *n;
        while ((n = ensign_next_of(client, ENSIGN_CLIENT)) != NULL) {
            if (n->error) why = *n->error;
            if (n->type == type) return;
        }
        turn();
    }
    fail_msg("notice %d did not come; the last error: %s", (int)type, why.text);
}

/* ------------------------------------------------------------------ the client */
static void desc(ensign_desc_t *d, char endpoint[32], uint16_t port)
{
    memset(d, 0, sizeof *d);
    memset(&why, 0, sizeof why);
    snprintf(endpoint, 32, "127.0.0.1:%u", (unsigned)port);
    d->endpoint = endpoint;
    d->seed = 7;
    d->backoff_min_ms = d->backoff_max_ms = 1;
}

/* A call wants to go out, with a token: so a leak would show. */
static uint32_t open_call(void)
{
    ensign_call_desc_t call;
    uint32_t id;

    memset(&call, 0, sizeof call);
    call.method = "/test.Tls/Any";
    call.unary = true;
    call.wait_for_ready = true;
    id = ensign_call_open(client, &call).id;
    assert_true(id != 0);
    return id;
}

static uint32_t create_and_call(const ensign_desc_t *d)
{
    int rc = ensign_create(d, &client, &why);

    if (rc != ENSIGN_OK) fail_msg("ensign_create: %s", why.text);
    return open_call();
}

static int finish(void **state)
{
    (void)state;
    ensign_destroy(client);
    client = NULL;
    server_stop(&server);
    return 0;
}

static bool heard(const char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; i + n <= server.heard_len; i++) {
        if (memcmp(server.heard + i, text, n) == 0) return true;
    }
    return false;
}

static size_t frames_heard(uint8_t type)
{
    size_t count = 0, at = sizeof "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" - 1;
    while (at + FRAME_HEAD <= server.heard_len) {
        const uint8_t *p = server.heard + at;
        if (p[3] == type) count++;
        at += FRAME_HEAD + ((size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2]);
    }
    return count;
}

static void check_error(int code, const char *says, const char *advice)
{
    if (why.code != code || !strstr(why.text, says) || !strstr(why.text, advice)) {
        fail_msg("error %s \"%s\" instead of %s \"..%s..%s..\"", ensign_result_name(why.code), why.text,
                 ensign_result_name(code), says, advice);
    }
}

/* ------------------------------------------------------------------ the gRPC link */
static const case_t rpc_cases[] = {
    { "an expired certificate", { &expired, "h2", false }, false,
      ENSIGN_E_CERTIFICATE, "expired on 2001-02-03", "renew it or set the clock" },
    { "a self-signed certificate", { &self_signed, "h2", false }, false,
      ENSIGN_E_CERTIFICATE, "self-signed", "tls.ca_file or tls.ca_pem" },
    { "a certificate of another host", { &elsewhere, "h2", false }, false,
      ENSIGN_E_HOSTNAME, "elsewhere.example", "tls.server_name" },
    { "no ALPN", { &good, NULL, false }, false,
      ENSIGN_E_ALPN, "no protocol", "gRPC port" },
    { "only HTTP/1.1 by ALPN", { &good, "http/1.1", false }, false,
      ENSIGN_E_ALPN, "no_application_protocol", "gRPC port" },
    { "a server in the clear, for a TLS client", { NULL, NULL, false }, false,
      ENSIGN_E_TLS, "does not speak TLS", "set tls.off (ENSIGN_INSECURE), or use the right port" },
    { "a TLS server, for a client in the clear", { &good, "h2", false }, true,
      ENSIGN_E_PROTOCOL, "speaks TLS", "unset tls.off" },
};

static void rpc_start(ensign_desc_t *d, char endpoint[32], kind_t kind)
{
    server_start(kind);
    desc(d, endpoint, server.port);
    d->token = token;
    d->tls.ca_pem = ensign_str(ca.pem);
}

/* A call that never gets out tells why at its deadline. */
static void tells_at_its_deadline(const char *says)
{
    ensign_call_desc_t call;
    const ensign_notice_t *n = NULL;
    uint32_t id;

    memset(&call, 0, sizeof call);
    call.method = "/test.Tls/Any";
    call.unary = true;
    call.wait_for_ready = true;
    call.deadline_ms = 1;
    id = ensign_call_open(client, &call).id;
    for (int i = 0; i < TURNS && !(n = ensign_next_of(client, id)); i++) {
        while (ensign_next_of(client, ENSIGN_CLIENT)) continue; /* one that waits would make a turn not wait */
        turn();
    }
    assert_non_null(n);
    if (!strstr(n->error->text, "the deadline passed before it could be sent: ") ||
        !strstr(n->error->text, says))
        fail_msg("the deadline does not tell of \"%s\": %s", says, n->error->text);
}

static void rpc_refuses(void **state)
{
    const case_t *x = (const case_t *)*state;
    ensign_desc_t d;
    char endpoint[32];
    uint32_t id;

    rpc_start(&d, endpoint, x->kind);
    d.tls.off = x->plain;
    id = create_and_call(&d);
    for (int attempt = 0; attempt < 2; attempt++) { /* the second one is refused as the first */
        why.code = 0;
        until(ENSIGN_NOTICE_DISCONNECTED);
        check_error(x->code, x->says, x->advice);
    }
    assert_false(ensign_pending(client, id)); /* the call waits on */
    tells_at_its_deadline(x->says);
    if (x->plain || !x->kind.cert)
        assert_false(heard(token));
    else
        assert_int_equal(server.heard_len, 0);                        /* not one byte of HTTP */
    assert_int_equal(server.wire[0], x->plain ? 'P' : TLS_HANDSHAKE); /* "PRI *", or a TLS handshake */
}

static void rpc_takes_a_good_server(void **state)
{
    ensign_desc_t d;
    char endpoint[32];

    (void)state;
    rpc_start(&d, endpoint, (kind_t){ &good, "h2", false });
    create_and_call(&d);
    until(ENSIGN_NOTICE_CONNECTED);
    for (int i = 0; i < TURNS && frames_heard(HEADERS) == 0; i++) turn();
    assert_int_equal(frames_heard(HEADERS), 1);
    assert_memory_equal(server.heard, "PRI * HTTP/2.0\r\n\r\n", 18);
    assert_false(ensign_pending(client, ENSIGN_CLIENT));
}

/* What was agreed on is told, once the handshake is over. */
static void a_link_tells_what_was_agreed_on(void **state)
{
    ensign_link_info_t info;
    ensign_desc_t d;
    char endpoint[32];

    (void)state;
    rpc_start(&d, endpoint, (kind_t){ &good, "h2", false });
    create_and_call(&d);
    do turn();
    while (ensign_link_info(client, ENSIGN_LINK_RPC, &info) != ENSIGN_OK);
    assert_string_equal(info.endpoint, endpoint);
    assert_string_equal(info.address, "127.0.0.1");
    assert_null(info.tls_version);      /* connected, no more */
    assert_null(info.cipher);
    assert_null(info.alpn);
    until(ENSIGN_NOTICE_CONNECTED);
    assert_int_equal(ensign_link_info(client, ENSIGN_LINK_RPC, &info), ENSIGN_OK);
    assert_string_equal(info.tls_version, mbedtls_ssl_get_version(&server.ssl));
    assert_string_equal(info.cipher, mbedtls_ssl_get_ciphersuite(&server.ssl));
    assert_string_equal(info.alpn, "h2");
    assert_false(info.resumed);
}

/* The host that is dialled and the name that is asked for are two things. */
static void rpc_takes_another_name(void **state)
{
    ensign_desc_t d;
    char endpoint[32];

    (void)state;
    rpc_start(&d, endpoint, (kind_t){ &elsewhere, "h2", false });
    d.tls.server_name = "elsewhere.example";
    create_and_call(&d);
    until(ENSIGN_NOTICE_CONNECTED);
}

static void rpc_skips_verification_when_told(void **state)
{
    ensign_desc_t d;
    char endpoint[32];

    (void)state;
    rpc_start(&d, endpoint, (kind_t){ &self_signed, "h2", false });
    d.tls.insecure_skip_verify = true;
    create_and_call(&d);
    until(ENSIGN_NOTICE_CONNECTED);
}

/* ------------------------------------------------------------------ client certificates */
static void rpc_shows_a_certificate(void **state)
{
    static char key[1024];
    ensign_desc_t d;
    char endpoint[32];

    (void)state;
    rpc_start(&d, endpoint, (kind_t){ &good, "h2", false });
    server_ask_clients(&server, &ca);
    assert_int_equal(mbedtls_pk_write_key_pem(&elsewhere.key, (unsigned char *)key, sizeof key), 0);
    d.tls.cert_pem = ensign_str(elsewhere.pem);
    d.tls.key_pem = ensign_str(key);
    create_and_call(&d);
    until(ENSIGN_NOTICE_CONNECTED);
    assert_non_null(mbedtls_ssl_get_peer_cert(&server.ssl));
    for (int i = 0; i < TURNS && frames_heard(HEADERS) == 0; i++) turn();
    assert_int_equal(frames_heard(HEADERS), 1);
}

/* What is wrong with it is told as why there is no connection, and read again at the next attempt. */
static void rpc_tells_of_its_own_certificate(void **state)
{
    ensign_desc_t d;
    char endpoint[32];

    (void)state;
    rpc_start(&d, endpoint, (kind_t){ &good, "h2", false });
    d.tls.cert_pem = ensign_str(elsewhere.pem);
    d.tls.key_file = "tests/no-such-folder/key.pem";
    create_and_call(&d);
    for (int attempt = 0; attempt < 2; attempt++) {
        why.code = 0;
        until(ENSIGN_NOTICE_DISCONNECTED);
        check_error(ENSIGN_E_FILE, "key_file tests/no-such-folder/key.pem cannot be read",
                    "set tls.key_file");
    }
    assert_int_equal(server.heard_len, 0);
}

/* ------------------------------------------------------------------ resumed sessions, the key log */
static int warnings, key_lines;
static char marked[] = "the user of the desc";

static void count_warnings(void *user, int level, const char *text)
{
    assert_ptr_equal(user, marked);
    warnings += level == ENSIGN_LOG_WARNING && strstr(text, "key_log has the secrets of the connection") &&
                strstr(text, "for tests only");
}

static void count_keys(void *user, const char *line)
{
    assert_ptr_equal(user, marked);
    assert_null(strchr(line, '\n'));
    key_lines++;
}

/* Has the gRPC link resumed its session? */
static bool connects_resumed(void)
{
    until(ENSIGN_NOTICE_CONNECTED);
    return ensi_tls_resumed(client->links[ENSIGN_LINK_RPC].tls);
}

/* The server ends the connection; the next call asks for another. */
static void cut(void)
{
    server_hang_up(&server);
    until(ENSIGN_NOTICE_DISCONNECTED);
    while (ensign_next(client)) continue; /* the end of the call, which would make turns not wait */
    server.heard_len = 0;
    open_call();
}

static void rpc_resumes(void **state)
{
    ensign_desc_t d;
    char endpoint[32];

    (void)state;
    rpc_start(&d, endpoint, (kind_t){ &good, "h2", false });
    server_give_tickets(&server);
    d.user = marked;
    d.log = count_warnings;
    d.tls.key_log = count_keys;
    warnings = key_lines = 0;
    create_and_call(&d);
    assert_false(connects_resumed());
    assert_int_equal(warnings, 1);
    assert_true(key_lines > 0);
    for (int i = 0; i < 3; i++) {
        int lines = key_lines;
        cut();
        assert_true(connects_resumed());
        assert_int_equal(warnings, i + 2); /* at each connect */
        assert_true(key_lines > lines);
    }
    server_give_tickets(&server);
    cut();
    assert_false(connects_resumed());
    assert_int_equal(client->auth_target.endpoint_count, 0); /* sessions belong to endpoints */
}

static void rpc_does_not_resume_when_told(void **state)
{
    ensign_desc_t d;
    char endpoint[32];

    (void)state;
    rpc_start(&d, endpoint, (kind_t){ &good, "h2", false });
    server_give_tickets(&server);
    d.tls.no_resume = true;
    create_and_call(&d);
    for (int i = 0; i < 3; i++) {
        assert_false(connects_resumed());
        assert_false(client->rpc_target.endpoints[0].saved.any);
        cut();
    }
}

/* The server's certificate is now for another host, and it has forgotten the session: it is refused, and is
 * again when it has given another ticket. */
static void rpc_refuses_a_changed_server(void **state)
{
    ensign_desc_t d;
    char endpoint[32];

    (void)state;
    rpc_start(&d, endpoint, (kind_t){ &good, "h2", false });
    server_give_tickets(&server);
    create_and_call(&d);
    assert_false(connects_resumed());
    cut();
    assert_true(connects_resumed());
    mbedtls_ssl_config_free(&server.config);
    mbedtls_x509_crt_free(&server.chain);
    mbedtls_ssl_ticket_free(&server.tickets);
    server.kind.cert = &elsewhere;
    server_configure(&server);
    server_give_tickets(&server);
    cut();
    for (int i = 0; i < 3; i++) {
        why.code = 0;
        until(ENSIGN_NOTICE_DISCONNECTED);
        check_error(ENSIGN_E_HOSTNAME, "elsewhere.example", "tls.server_name");
        assert_false(client->rpc_target.endpoints[0].saved.any);
    }
}

/* ------------------------------------------------------------------ the auth link */
static const case_t auth_cases[] = {
    { "an expired certificate", { &expired, NULL, true }, false,
      ENSIGN_E_AUTH, "expired on 2001-02-03", "renew it or set the clock" },
    { "a self-signed certificate", { &self_signed, NULL, true }, false,
      ENSIGN_E_AUTH, "self-signed", "ca_pem" },
    { "a certificate of another host", { &elsewhere, NULL, true }, false,
      ENSIGN_E_AUTH, "elsewhere.example", "server_name" },
    { "a server in the clear, for https", { NULL, NULL, false }, false,
      ENSIGN_E_AUTH, "does not speak TLS", "right port" },
    { "a TLS server, for http", { &good, NULL, true }, true,
      ENSIGN_E_AUTH, "auth:", "does not answer in HTTP/1.1" },
};

/* What a call hears that does not wait for the token. */
static const case_t call_cases[] = {
    { "an expired certificate", { &expired, NULL, true }, false,
      ENSIGN_E_UNAVAILABLE, "auth: no token: tls:", "expired on 2001-02-03" },
    { "a TLS server, for http", { &good, NULL, true }, true,
      ENSIGN_E_UNAVAILABLE, "auth:", "does not answer in HTTP/1.1" },
};

/* The gRPC server of these tests takes the connection and says nothing, so that its link has no fault. */
static int silent = -1;

static void auth_start(ensign_desc_t *d, char endpoint[32], char url[40], kind_t kind, bool plain)
{
    uint16_t port;

    server_start(kind);
    silent = listen_on_loopback(&port);
    desc(d, endpoint, port);
    snprintf(url, 40, "%s://127.0.0.1:%u", plain ? "http" : "https", (unsigned)server.port);
    d->tls.off = true;
    d->auth_url = url;
    d->client_id = "an-id";
    d->client_secret = secret;
    d->auth_tls.ca_pem = ensign_str(ca.pem);
}

static int auth_finish(void **state)
{
    if (silent >= 0) close(silent);
    silent = -1;
    return finish(state);
}

static void auth_refuses(void **state)
{
    const case_t *x = (const case_t *)*state;
    ensign_desc_t d;
    ensign_stats_t stats;
    char endpoint[32], url[40];

    auth_start(&d, endpoint, url, x->kind, x->plain);
    d.give_up_after_ms = 1;
    create_and_call(&d);
    until(
        ENSIGN_NOTICE_FAILED); /* an auth service that fails is no DISCONNECTED: it shows where we give up */
    check_error(x->code, x->says, x->advice);
    assert_int_equal(ensign_stats(client, ENSIGN_CLIENT, &stats), ENSIGN_OK);
    assert_int_equal(stats.tokens, 0);
    assert_false(heard(secret));
    if (x->kind.cert) assert_int_equal(server.heard_len, 0);
    assert_int_equal(server.wire[0], x->plain ? 'P' : TLS_HANDSHAKE); /* "POST", or a TLS handshake */
}

static void auth_tells_a_call(void **state)
{
    const case_t *x = (const case_t *)*state;
    ensign_call_desc_t call;
    ensign_desc_t d;
    const ensign_notice_t *n = NULL;
    ensign_call_t k;
    char endpoint[32], url[40];

    auth_start(&d, endpoint, url, x->kind, x->plain);
    assert_int_equal(ensign_create(&d, &client, &why), ENSIGN_OK);
    memset(&call, 0, sizeof call);
    call.method = "/test.Tls/Any";
    call.unary = true;
    k = ensign_call_open(client, &call);
    for (int i = 0; i < TURNS && !(n = ensign_next_of(client, k.id)); i++) turn();
    assert_non_null(n);
    assert_int_equal(n->type, ENSIGN_NOTICE_REPLY);
    assert_int_equal(n->as.reply.status, ENSIGN_GRPC_UNAVAILABLE);
    assert_true(n->as.reply.unprocessed);
    why = *n->error;
    check_error(x->code, x->says, x->advice);
    assert_int_equal(server.wire[0], x->plain ? 'P' : TLS_HANDSHAKE);
}

/* HTTP/1.1 needs no ALPN. */
static void takes_a_token(bool closes)
{
    ensign_desc_t d;
    ensign_stats_t stats;
    char endpoint[32], url[40];

    auth_start(&d, endpoint, url, (kind_t){ &good, NULL, true }, false);
    server.closes = closes;
    create_and_call(&d);
    memset(&stats, 0, sizeof stats);
    for (int i = 0; i < TURNS && stats.tokens == 0; i++) {
        turn();
        assert_int_equal(ensign_stats(client, ENSIGN_CLIENT, &stats), ENSIGN_OK);
    }
    assert_int_equal(stats.tokens, 1);
    assert_true(heard("POST /v1/authenticate HTTP/1.1\r\n"));
    assert_true(heard(secret));
}

static void auth_takes_a_good_server(void **state)
{
    (void)state;
    takes_a_token(false);
}

static void auth_takes_an_answer_that_ends_with_the_connection(void **state)
{
    (void)state;
    takes_a_token(true);
}

/* ------------------------------------------------------------------ all */
static int make_certificates(void **state)
{
    static const char names[] = "localhost,ip:127.0.0.1";
    (void)state;
    certs_make(&ca, NULL, "CN=test CA", NULL, CERTS_FROM, CERTS_TO);
    certs_make(&good, &ca, "CN=good", names, CERTS_FROM, CERTS_TO);
    certs_make(&expired, &ca, "CN=expired", names, CERTS_FROM, CERTS_PAST);
    certs_make(&self_signed, NULL, "CN=self-signed", names, CERTS_FROM, CERTS_TO);
    certs_make(&elsewhere, &ca, "CN=elsewhere", "elsewhere.example", CERTS_FROM, CERTS_TO);
    return 0;
}

static int free_certificates(void **state)
{
    (void)state;
    certs_free(&ca);
    certs_free(&good);
    certs_free(&expired);
    certs_free(&self_signed);
    certs_free(&elsewhere);
    return 0;
}

enum {
    GOOD = 11,
    RPC = ENSI_COUNT(rpc_cases),
    AUTH = ENSI_COUNT(auth_cases),
    CALL = ENSI_COUNT(call_cases),
    ALL = GOOD + RPC + AUTH + CALL
};
static char names[ALL][80];
static struct CMUnitTest tests[ALL] = {
    cmocka_unit_test_teardown(rpc_takes_a_good_server, finish),
    cmocka_unit_test_teardown(a_link_tells_what_was_agreed_on, finish),
    cmocka_unit_test_teardown(rpc_takes_another_name, finish),
    cmocka_unit_test_teardown(rpc_skips_verification_when_told, finish),
    cmocka_unit_test_teardown(rpc_shows_a_certificate, finish),
    cmocka_unit_test_teardown(rpc_tells_of_its_own_certificate, finish),
    cmocka_unit_test_teardown(rpc_resumes, finish),
    cmocka_unit_test_teardown(rpc_does_not_resume_when_told, finish),
    cmocka_unit_test_teardown(rpc_refuses_a_changed_server, finish),
    cmocka_unit_test_teardown(auth_takes_a_good_server, auth_finish),
    cmocka_unit_test_teardown(auth_takes_an_answer_that_ends_with_the_connection, auth_finish),
};

/* A test for each case, from `at` on. */
static void add(size_t at, const case_t *cases, size_t count, const char *what, CMUnitTestFunction run,
                CMFixtureFunction after)
{
    for (size_t i = 0; i < count; i++) {
        struct CMUnitTest *t = &tests[at + i];
        snprintf(names[at + i], sizeof names[at + i], "%s %s", what, cases[i].name);
        t->name = names[at + i];
        t->test_func = run;
        t->teardown_func = after;
        t->initial_state = (void *)(uintptr_t)&cases[i];
    }
}

int main(void)
{
    add(GOOD, rpc_cases, RPC, "the gRPC link refuses", rpc_refuses, finish);
    add(GOOD + RPC, auth_cases, AUTH, "the auth link refuses", auth_refuses, auth_finish);
    add(GOOD + RPC + AUTH, call_cases, CALL, "a call hears of", auth_tells_a_call, auth_finish);
    return cmocka_run_group_tests_name("tls over sockets", tests, make_certificates, free_certificates);
}
