/* tls.c - section tls against an mbedTLS server in the same process, over memory */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* fopen, but while `files_hidden` there is no file, and errno says `hidden_errno`. */
static bool files_hidden;
static int hidden_errno = ENOENT;

static FILE *open_file(const char *path, const char *mode)
{
    if (!files_hidden) return fopen(path, mode);
    errno = hidden_errno;
    return NULL;
}

#define fopen open_file
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#undef fopen
#include <mbedtls/ssl_ticket.h>
#include "../certs.h"
#include "keys.h"

enum { ROOM = 65536, WHOLE = 0, BYTES = 1, RANDOM = 2, ROUNDS_MAX = 400000 };

static certs_t ca, leaf, other_ca, mine, other_mine; /* mine: clients' */
static char mine_key[1024], other_key[1024];

/* Client and server, and what is on its way between them. */
typedef struct {
    uint8_t bytes[4][ROOM];
    ensi_buf_t c_rx, c_tx, s_rx, s_tx;
    int cut;                        /* WHOLE, BYTES, RANDOM: how the network cuts */
    size_t to_client_max;           /* bytes that still reach the client */
    uint64_t seed;
    ensi_tls_conf_t conf;
    ensi_tls_t tls;
    bool has_server;
    mbedtls_ssl_config s_config;
    mbedtls_ssl_context s_ssl;
    mbedtls_x509_crt s_chain, s_client_ca;
    const char *s_alpn[2];
    bool s_up, s_failed;
    ensign_error_t error;
} rig_t;

typedef struct {
    certs_t *cert;                  /* of the server; NULL: no server, the test plays it */
    const char *trust;              /* PEM for the client */
    const char *host;               /* [localhost] */
    const char *server_alpn;        /* [h2]; "": none */
    int cut;
    bool ignore_dates, insecure, no_alpn, tls12;
    mbedtls_ssl_ticket_context *tickets;
    certs_t *client_ca;             /* the server asks for a certificate that this one signed */
    const char *own, *own_key;      /* PEM of the client's; NULL: none */
    int min_version;                /* of the client */
    bool no_resume;
    ensi_tls_saved_t *saved;        /* NULL: sessions are not saved */
    const char *endpoint;           /* host of the session [localhost] */
    uint16_t port;
    uint64_t now_ms;
    void (*key_log)(void *, const char *);
    void *user;
} rig_opts_t;

/* ---- the heap of mbedTLS, which is calloc */

/* Fails the call that `heap_left` counts down to; `heap_counts`: what is called now is the client's. */
static bool heap_counts, heap_stays_empty;
static long heap_left = -1, heap_failed;

void *calloc(size_t count, size_t size)
{
    static void *(*volatile take)(size_t) = malloc; /* else a compiler makes a call of calloc out of it */
    void *p;

    if (heap_counts && heap_left >= 0) {
        if (heap_left == 0 || (heap_stays_empty && heap_failed > 0)) {
            heap_left = heap_stays_empty ? 0 : -1;
            heap_failed++;
            return NULL;
        }
        heap_left--;
    }
    if (size != 0 && count > SIZE_MAX / size) return NULL;
    p = take(count * size);
    return p ? memset(p, 0, count * size) : NULL;
}

static ensign_slice_t text_slice(const char *text)
{
    ensign_slice_t s = { (const uint8_t *)text, strlen(text) };
    return s;
}

static void buf_open(ensi_buf_t *b, uint8_t *bytes)
{
    b->ptr = bytes;
    b->cap = ROOM;
    b->start = b->end = 0;
}

/* Bring what waits to the front: the link does so for its own buffers. */
static void buf_rewind(ensi_buf_t *b)
{
    memmove(b->ptr, b->ptr + b->start, b->end - b->start);
    b->end -= b->start;
    b->start = 0;
}

static int server_recv(void *arg, unsigned char *out, size_t len)
{
    rig_t *r = arg;
    size_t n = r->s_rx.end - r->s_rx.start;

    if (n == 0) return MBEDTLS_ERR_SSL_WANT_READ;
    if (n > len) n = len;
    memcpy(out, r->s_rx.ptr + r->s_rx.start, n);
    r->s_rx.start += n;
    return (int)n;
}

static int server_send(void *arg, const unsigned char *p, size_t len)
{
    rig_t *r = arg;

    buf_rewind(&r->s_tx);
    if (len > r->s_tx.cap - r->s_tx.end) return MBEDTLS_ERR_SSL_WANT_WRITE;
    memcpy(r->s_tx.ptr + r->s_tx.end, p, len);
    r->s_tx.end += len;
    return (int)len;
}

static size_t carry(rig_t *r, ensi_buf_t *from, ensi_buf_t *to, size_t most)
{
    size_t n = from->end - from->start;
    uint8_t dice;

    buf_rewind(to);
    if (n > to->cap - to->end) n = to->cap - to->end;
    certs_random(&r->seed, &dice, 1);
    if (r->cut == BYTES && n > 1) n = 1;
    if (r->cut == RANDOM && n > dice) n = dice;
    if (n > most) n = most;
    memcpy(to->ptr + to->end, from->ptr + from->start, n);
    to->end += n;
    from->start += n;
    buf_rewind(from);
    return n;
}

static void exchange(rig_t *r)
{
    carry(r, &r->c_tx, &r->s_rx, SIZE_MAX);
    r->to_client_max -= carry(r, &r->s_tx, &r->c_rx, r->to_client_max);
}

static void server_open(rig_t *r, const rig_opts_t *o)
{
    mbedtls_ssl_config_init(&r->s_config);
    mbedtls_ssl_init(&r->s_ssl);
    mbedtls_x509_crt_init(&r->s_chain);
    mbedtls_x509_crt_init(&r->s_client_ca);
    r->has_server = true;
    assert_int_equal(mbedtls_ssl_config_defaults(&r->s_config, MBEDTLS_SSL_IS_SERVER,
                                                 MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT),
                     0);
    assert_int_equal(
        mbedtls_x509_crt_parse(&r->s_chain, (const unsigned char *)o->cert->pem, strlen(o->cert->pem) + 1),
        0);
    mbedtls_ssl_conf_rng(&r->s_config, certs_random, &r->seed);
    assert_int_equal(mbedtls_ssl_conf_own_cert(&r->s_config, &r->s_chain, &o->cert->key), 0);
#ifdef MBEDTLS_SSL_RENEGOTIATION
    mbedtls_ssl_conf_renegotiation(&r->s_config, MBEDTLS_SSL_RENEGOTIATION_ENABLED);
#endif
#if MBEDTLS_VERSION_NUMBER >= 0x03020000
    if (o->tls12) mbedtls_ssl_conf_max_tls_version(&r->s_config, MBEDTLS_SSL_VERSION_TLS1_2);
#endif
    if (o->tickets)
        mbedtls_ssl_conf_session_tickets_cb(&r->s_config, mbedtls_ssl_ticket_write, mbedtls_ssl_ticket_parse,
                                            o->tickets);
    if (o->client_ca) {
        assert_int_equal(mbedtls_x509_crt_parse(&r->s_client_ca, (const unsigned char *)o->client_ca->pem,
                                                strlen(o->client_ca->pem) + 1), 0);
        mbedtls_ssl_conf_ca_chain(&r->s_config, &r->s_client_ca, NULL);
        mbedtls_ssl_conf_authmode(&r->s_config, MBEDTLS_SSL_VERIFY_REQUIRED);
    }
    r->s_alpn[0] = o->server_alpn ? o->server_alpn : "h2";
    if (r->s_alpn[0][0]) assert_int_equal(mbedtls_ssl_conf_alpn_protocols(&r->s_config, r->s_alpn), 0);
    assert_int_equal(mbedtls_ssl_setup(&r->s_ssl, &r->s_config), 0);
    mbedtls_ssl_set_bio(&r->s_ssl, r, server_send, server_recv, NULL);
}

/* The client's configuration and connection. */
static int client_open(rig_t *r, const rig_opts_t *o)
{
    ensi_tls_opts_t t;
    int rc;

    memset(&t, 0, sizeof t);
    t.ca_pem = text_slice(o->trust ? o->trust : ca.pem);
    t.ignore_dates = o->ignore_dates;
    t.insecure_skip_verify = o->insecure;
    t.alpn_h2 = !o->no_alpn;
    t.min_version = o->min_version;
    t.no_resume = o->no_resume;
    t.key_log = o->key_log;
    t.user = o->user;
    if (o->own) t.cert_pem = text_slice(o->own);
    if (o->own_key) t.key_pem = text_slice(o->own_key);
    rc = ensi_tls_conf_open(&r->conf, &t, &r->error);
    if (rc != ENSIGN_OK) return rc;
    rc = ensi_tls_open(&r->tls, &r->conf, o->host ? o->host : "localhost", "localhost:5356", &r->c_rx,
                       &r->c_tx, &r->error);
    if (rc == ENSIGN_OK && o->saved)
        ensi_tls_resume(&r->tls, o->saved, o->endpoint ? o->endpoint : "localhost", o->port, o->now_ms);
    return rc;
}

static rig_t *rig_new(const rig_opts_t *o)
{
    rig_t *r = calloc(1, sizeof *r);

    assert_non_null(r);
    buf_open(&r->c_rx, r->bytes[0]);
    buf_open(&r->c_tx, r->bytes[1]);
    buf_open(&r->s_rx, r->bytes[2]);
    buf_open(&r->s_tx, r->bytes[3]);
    r->cut = o->cut;
    r->to_client_max = SIZE_MAX;
    r->seed = 7;
    if (o->cert) server_open(r, o);
    return r;
}

static rig_t *rig_open(rig_opts_t o)
{
    rig_t *r = rig_new(&o);

    assert_int_equal(client_open(r, &o), ENSIGN_OK);
    return r;
}

static void rig_close(rig_t *r)
{
    ensi_tls_close(&r->tls);
    ensi_tls_conf_close(&r->conf);
    if (r->has_server) {
        mbedtls_ssl_free(&r->s_ssl);
        mbedtls_ssl_config_free(&r->s_config);
        mbedtls_x509_crt_free(&r->s_chain);
        mbedtls_x509_crt_free(&r->s_client_ca);
    }
    free(r);
}

static void server_step(rig_t *r)
{
    int rc;

    if (r->s_failed) r->s_rx.start = r->s_rx.end = 0;
    if (!r->has_server || r->s_up || r->s_failed) return;
    rc = mbedtls_ssl_handshake(&r->s_ssl);
    r->s_up = rc == 0;
    r->s_failed = rc != 0 && !ensi_tls_is_again(rc);
}

/* Until the client has a result and both sides are content, or nothing moves any more: then AGAIN. */
static int shake(rig_t *r)
{
    int rc = ENSIGN_AGAIN;

    for (int still = 0; still < 3; still++) {
        size_t before = r->c_tx.end + r->s_tx.end + r->c_rx.end + r->s_rx.end;
        heap_counts = true;
        rc = ensi_tls_handshake(&r->tls, &r->error);
        heap_counts = false;
        if (rc < 0 || (rc == ENSIGN_OK && (r->s_up || r->s_failed || !r->has_server))) return rc;
        exchange(r);
        server_step(r);
        if (before != 0 || r->c_tx.end + r->s_tx.end + r->c_rx.end + r->s_rx.end != 0) still = 0;
        if (r->to_client_max == 0 && r->c_rx.end == r->c_rx.start) return rc;
    }
    return rc;
}

static void assert_text(const rig_t *r, const char *part)
{
    if (!strstr(r->error.text, part)) fail_msg("\"%s\" is not in \"%s\"", part, r->error.text);
    assert_true(strncmp(r->error.text, "tls: ", 5) == 0);
    assert_true(strlen(r->error.text) < sizeof r->error.text - 1);
}

static void refused(rig_opts_t o, int code, const char *part, const char *part2)
{
    rig_t *r = rig_open(o);

    if (shake(r) != code || r->error.code != code) fail_msg("%d: %s", r->error.code, r->error.text);
    assert_text(r, part);
    assert_text(r, part2);
    /* final, and said again */
    assert_int_equal(ensi_tls_handshake(&r->tls, &r->error), code);
    assert_int_equal(ensi_tls_write(&r->tls, (const uint8_t *)"x", 1, &r->error), code);
    rig_close(r);
}

static void accepted(rig_opts_t o)
{
    rig_t *r = rig_open(o);
    int rc = shake(r);

    if (rc != ENSIGN_OK) fail_msg("%d: %s", rc, r->error.text);
    assert_int_equal(ensi_tls_handshake(&r->tls, &r->error), ENSIGN_OK); /* again: it is done */
    rig_close(r);
}

/* ---- data */

typedef struct { size_t size, put, got; uint8_t salt; } flow_t;

static uint8_t flow_byte(const flow_t *f, size_t at)
{
    return (uint8_t)(at * 31 + at / 251 + f->salt);
}

static void flow_take(flow_t *f, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) assert_int_equal(p[i], flow_byte(f, f->got + i));
    f->got += n;
    assert_true(f->got <= f->size);
}

static size_t flow_give(const flow_t *f, uint8_t *out, size_t most)
{
    size_t n = f->size - f->put < most ? f->size - f->put : most;

    for (size_t i = 0; i < n; i++) out[i] = flow_byte(f, f->put + i);
    return n;
}

static void client_turn(rig_t *r, flow_t *up, flow_t *down)
{
    static uint8_t bytes[ENSI_TLS_PLAIN_MAX];
    size_t n = flow_give(up, bytes, sizeof bytes), len = 0;
    int rc;

    if (n > 0 && r->c_tx.cap - r->c_tx.end >= ensi_tls_record_room(&r->tls, n)) {
        size_t end = r->c_tx.end;
        assert_int_equal(ensi_tls_write(&r->tls, bytes, n, &r->error), ENSIGN_OK);
        assert_true(r->c_tx.end > end + n && r->c_tx.end <= end + ensi_tls_record_room(&r->tls, n));
        up->put += n;
    }
    while ((rc = ensi_tls_read(&r->tls, bytes, 5000, &len, &r->error)) == ENSIGN_OK) {
        assert_in_range(len, 1, 5000);
        flow_take(down, bytes, len);
    }
    assert_int_equal(rc, ENSIGN_AGAIN);
    assert_int_equal(len, 0);
}

static void server_turn(rig_t *r, flow_t *up, flow_t *down)
{
    static uint8_t bytes[ENSI_TLS_PLAIN_MAX];
    size_t n = flow_give(down, bytes, sizeof bytes);
    int rc;

    if (n > 0 && r->s_tx.end - r->s_tx.start < ROOM / 2) {
        rc = mbedtls_ssl_write(&r->s_ssl, bytes, n);
        assert_true(rc > 0);
        down->put += (size_t)rc;
    }
    while ((rc = mbedtls_ssl_read(&r->s_ssl, bytes, sizeof bytes)) > 0) flow_take(up, bytes, (size_t)rc);
    assert_int_equal(rc, MBEDTLS_ERR_SSL_WANT_READ);
}

static void flow_both_ways(rig_t *r, size_t size)
{
    flow_t up = { size, 0, 0, 3 }, down = { size, 0, 0, 5 };

    for (int i = 0; i < ROUNDS_MAX && (up.got < size || down.got < size); i++) {
        client_turn(r, &up, &down);
        server_turn(r, &up, &down);
        exchange(r);
    }
    assert_int_equal(up.got, size);
    assert_int_equal(down.got, size);
}

static void data_survives_any_cut(void **state)
{
    static const size_t sizes[] = { 0, 1, 2, 1000, 16383, 16384, 16385, 40000, 100000 };
    (void)state;
    for (int cut = WHOLE; cut <= RANDOM; cut++) {
        rig_t *r = rig_open((rig_opts_t){ .cert = &leaf, .cut = cut });
        int rc = shake(r);
        if (rc != ENSIGN_OK) fail_msg("%d: %s", rc, r->error.text);
        for (size_t i = 0; i < ENSI_COUNT(sizes); i++)
            if (cut != BYTES || sizes[i] < 20000) flow_both_ways(r, sizes[i]);
        rig_close(r);
    }
}

#ifdef MBEDTLS_SSL_MAX_FRAGMENT_LENGTH
/* As an mbedTLS that was built with smaller ones makes them: a write becomes several, with room for all. */
static void records_may_be_smaller(void **state)
{
    rig_opts_t o = { .cert = &leaf };
    rig_t *r = rig_open(o);
    size_t usual;
    (void)state;
    assert_int_equal(shake(r), ENSIGN_OK);
    usual = ensi_tls_record_room(&r->tls, ENSI_TLS_PLAIN_MAX);
    rig_close(r);
    r = rig_open(o);
    assert_int_equal(mbedtls_ssl_conf_max_frag_len(&r->conf.config, MBEDTLS_SSL_MAX_FRAG_LEN_512), 0);
    assert_int_equal(shake(r), ENSIGN_OK);
    assert_true(ensi_tls_record_room(&r->tls, ENSI_TLS_PLAIN_MAX) >= usual + 31 * 21);
    flow_both_ways(r, 100000);
    rig_close(r);
}
#endif

static void first_cipher_is_chacha20(void **state)
{
    rig_t *r = rig_open((rig_opts_t){ .cert = &leaf });
    (void)state;
    assert_int_equal(shake(r), ENSIGN_OK);
    assert_non_null(strstr(mbedtls_ssl_get_ciphersuite(&r->tls.ssl), "CHACHA20-POLY1305"));
    rig_close(r);
}

static void a_write_without_room_is_refused(void **state)
{
    static uint8_t bytes[ENSI_TLS_PLAIN_MAX + 1];
    flow_t up = { 100, 0, 0, 1 }, down = { 0, 0, 0, 2 };
    rig_t *r = rig_open((rig_opts_t){ .cert = &leaf });
    size_t need;
    (void)state;
    assert_int_equal(ensi_tls_write(&r->tls, bytes, 1, &r->error), ENSIGN_E_STATE); /* before the handshake */
    assert_int_equal(shake(r), ENSIGN_OK);
    need = ensi_tls_record_room(&r->tls, ENSI_TLS_PLAIN_MAX);
    assert_in_range(need, ENSI_TLS_PLAIN_MAX + 21, ENSI_TLS_PLAIN_MAX + 128);
    r->c_tx.cap = need - 1;
    assert_int_equal(ensi_tls_write(&r->tls, bytes, ENSI_TLS_PLAIN_MAX, &r->error), ENSIGN_E_STATE);
    assert_text(r, "send first");
    r->c_tx.cap = ensi_tls_record_room(&r->tls, 1) - 1;
    assert_int_equal(ensi_tls_write(&r->tls, bytes, 1, &r->error), ENSIGN_E_STATE);
    assert_int_equal(r->c_tx.end, 0);
    r->c_tx.cap = ROOM;
    assert_int_equal(ensi_tls_write(&r->tls, bytes, sizeof bytes, &r->error), ENSIGN_E_TOO_LARGE);
    assert_int_equal(ensi_tls_write(&r->tls, bytes, 0, &r->error), ENSIGN_OK); /* nothing takes no room */
    assert_int_equal(r->c_tx.end, 0);
    for (int i = 0; i < 4 && up.got < up.size; i++) { /* and the connection has not suffered */
        client_turn(r, &up, &down);
        exchange(r);
        server_turn(r, &up, &down);
    }
    assert_int_equal(up.got, up.size);
    rig_close(r);
}

static void a_handshake_record_is_never_split(void **state)
{
    rig_t *r = rig_open((rig_opts_t){ .cert = &leaf });
    (void)state;
    r->c_tx.end = r->c_tx.start = ROOM - 20;
    assert_int_equal(ensi_tls_handshake(&r->tls, &r->error), ENSIGN_AGAIN);
    assert_int_equal(r->c_tx.end, ROOM - 20);
    r->c_tx.start = r->c_tx.end = 0;
    assert_int_equal(shake(r), ENSIGN_OK);
    rig_close(r);
}

static void a_record_that_can_never_fit_is_an_error(void **state)
{
    rig_t *r = rig_open((rig_opts_t){ .cert = &leaf });
    (void)state;
    r->c_tx.cap = 50;
    assert_int_equal(ensi_tls_handshake(&r->tls, &r->error), ENSIGN_E_TLS);
    assert_text(r, "larger than the send buffer");
    rig_close(r);
}

#ifdef MBEDTLS_SSL_RENEGOTIATION
/* The server asks for a renegotiation, our refusal finds no room and waits in mbedTLS: the next write must
 * not be taken for it. */
static void a_write_behind_a_held_alert_arrives(void **state)
{
    flow_t up = { 100, 0, 0, 1 };
    uint8_t bytes[200];
    size_t len;
    rig_t *r = rig_open((rig_opts_t){ .cert = &leaf, .tls12 = true });
    int rc;
    (void)state;
    assert_int_equal(shake(r), ENSIGN_OK);
    (void)mbedtls_ssl_renegotiate(&r->s_ssl);
    exchange(r);
    r->c_tx.start = r->c_tx.end = ROOM;
    assert_int_equal(ensi_tls_read(&r->tls, bytes, sizeof bytes, &len, &r->error), ENSIGN_AGAIN);
    assert_true(r->tls.held > 0);
    assert_int_equal(ensi_tls_write(&r->tls, bytes, 1, &r->error), ENSIGN_E_STATE);
    r->c_tx.start = r->c_tx.end = 0;
    len = flow_give(&up, bytes, sizeof bytes);
    assert_int_equal(ensi_tls_write(&r->tls, bytes, len, &r->error), ENSIGN_OK);
    assert_int_equal(r->tls.held, 0);
    exchange(r);
    for (int i = 0; i < 4 && up.got < up.size; i++) {
        rc = mbedtls_ssl_read(&r->s_ssl, bytes, sizeof bytes);
        if (rc > 0) flow_take(&up, bytes, (size_t)rc);
    }
    assert_int_equal(up.got, up.size);
    rig_close(r);
}
#endif

static void a_session_ticket_is_not_an_error(void **state)
{
    mbedtls_ssl_ticket_context tickets;
    uint64_t seed = 3;
    rig_t *r;
    (void)state;
    mbedtls_ssl_ticket_init(&tickets);
    assert_int_equal(
        mbedtls_ssl_ticket_setup(&tickets, certs_random, &seed, MBEDTLS_CIPHER_AES_256_GCM, 3600), 0);
    r = rig_open((rig_opts_t){ .cert = &leaf, .tickets = &tickets });
    assert_int_equal(shake(r), ENSIGN_OK);
    flow_both_ways(r, 1000);
    rig_close(r);
    mbedtls_ssl_ticket_free(&tickets);
}

/* ---- endings */

static void close_notify_ends_both_ways(void **state)
{
    uint8_t byte;
    size_t len;
    rig_t *r = rig_open((rig_opts_t){ .cert = &leaf });
    (void)state;
    assert_int_equal(shake(r), ENSIGN_OK);
    assert_int_equal(mbedtls_ssl_close_notify(&r->s_ssl), 0);
    exchange(r);
    for (int i = 0; i < 2; i++) { /* mbedTLS says it once, we again */
        assert_int_equal(ensi_tls_read(&r->tls, &byte, 1, &len, &r->error), ENSIGN_E_CLOSED);
        assert_int_equal(len, 0);
    }
    ensi_tls_bye(&r->tls);
    assert_true(r->c_tx.end > 0);
    exchange(r);
    assert_int_equal(mbedtls_ssl_read(&r->s_ssl, &byte, 1), MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY);
    rig_close(r);
}

static void a_changed_record_ends_the_connection(void **state)
{
    uint8_t byte = 'x';
    size_t len, end;
    rig_t *r = rig_open((rig_opts_t){ .cert = &leaf });
    (void)state;
    assert_int_equal(shake(r), ENSIGN_OK);
    assert_int_equal(mbedtls_ssl_write(&r->s_ssl, &byte, 1), 1);
    r->s_tx.ptr[r->s_tx.end - 1] ^= 0x80;
    exchange(r);
    assert_int_equal(ensi_tls_read(&r->tls, &byte, 1, &len, &r->error), ENSIGN_E_TLS);
    assert_text(r, "connection with localhost:5356 failed: a record was changed on its way");
    end = r->c_tx.end;
    assert_true(end > 0); /* our alert */
    ensi_tls_bye(&r->tls);
    assert_int_equal(r->c_tx.end, end);
    assert_int_equal(ensi_tls_read(&r->tls, &byte, 1, &len, &r->error), ENSIGN_E_TLS);
    rig_close(r);
}

static void bye_without_room_or_handshake_does_nothing(void **state)
{
    rig_t *r = rig_open((rig_opts_t){ .cert = &leaf });
    (void)state;
    ensi_tls_bye(&r->tls);
    assert_int_equal(r->c_tx.end, 0);
    assert_int_equal(shake(r), ENSIGN_OK);
    r->c_tx.start = r->c_tx.end = ROOM;
    ensi_tls_bye(&r->tls);
    assert_int_equal(r->c_tx.end, ROOM);
    r->c_tx.start = r->c_tx.end = 0;
    ensi_tls_close(&r->tls);
    ensi_tls_bye(&r->tls);
    assert_int_equal(r->c_tx.end, 0);
    rig_close(r);
}

static void an_alert_may_end_the_connection(void **state)
{
    uint8_t byte;
    size_t len;
    rig_t *r = rig_open((rig_opts_t){ .cert = &leaf });
    (void)state;
    assert_int_equal(shake(r), ENSIGN_OK);
    assert_int_equal(mbedtls_ssl_send_alert_message(&r->s_ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL,
                                                    MBEDTLS_SSL_ALERT_MSG_INTERNAL_ERROR), 0);
    exchange(r);
    assert_int_equal(ensi_tls_read(&r->tls, &byte, 1, &len, &r->error), ENSIGN_E_TLS);
    assert_text(r, "localhost:5356 ended the connection with alert 80, internal_error; look into");
    rig_close(r);
}

/* The peer falls silent, or its bytes are lost, at any point: we wait, and can be closed. */
static void a_cut_handshake_waits(void **state)
{
    (void)state;
    for (size_t most = 0; most < 600; most += 41) {
        rig_t *r = rig_open((rig_opts_t){ .cert = &leaf });
        r->to_client_max = most;
        assert_int_equal(shake(r), ENSIGN_AGAIN);
        rig_close(r);
    }
}

static void a_changed_byte_is_never_accepted(void **state)
{
    (void)state;
    for (size_t at = 0; at < 700; at += 53) {
        rig_t *r = rig_open((rig_opts_t){ .cert = &leaf });
        assert_int_equal(ensi_tls_handshake(&r->tls, &r->error), ENSIGN_AGAIN);
        exchange(r);
        server_step(r);
        assert_true(r->s_tx.end > 700);
        r->s_tx.ptr[at] ^= 0x01;
        assert_int_not_equal(shake(r), ENSIGN_OK);
        rig_close(r);
    }
}

/* ---- refusals */

static void expired_certificate(void **state)
{
    certs_t c;
    (void)state;
    certs_make(&c, &ca, "CN=old", "localhost", CERTS_FROM, CERTS_PAST);
    refused((rig_opts_t){ .cert = &c }, ENSIGN_E_CERTIFICATE,
            "certificate of localhost:5356 expired on 2001-02-03, this clock says 20",
            "renew it or set the clock");
    accepted((rig_opts_t){ .cert = &c, .ignore_dates = true });
    refused((rig_opts_t){ .cert = &c, .ignore_dates = true, .host = "example.org" }, ENSIGN_E_HOSTNAME,
            "localhost", "example.org");
    refused((rig_opts_t){ .cert = &c, .ignore_dates = true, .trust = other_ca.pem }, ENSIGN_E_CERTIFICATE,
            "CN=test CA", "ca_pem");
    certs_free(&c);
}

static void certificate_of_the_future(void **state)
{
    certs_t c;
    (void)state;
    certs_make(&c, &ca, "CN=new", "localhost", CERTS_LATE, CERTS_TO);
    refused((rig_opts_t){ .cert = &c }, ENSIGN_E_CERTIFICATE,
            "is not valid before 2097-02-03, this clock says 20", "set the clock");
    accepted((rig_opts_t){ .cert = &c, .ignore_dates = true });
    certs_free(&c);
}

static void expired_ca(void **state)
{
    certs_t old, c;
    (void)state;
    certs_make(&old, NULL, "CN=old CA", NULL, CERTS_FROM, CERTS_PAST);
    certs_make(&c, &old, "CN=leaf", "localhost", CERTS_FROM, CERTS_TO);
    refused((rig_opts_t){ .cert = &c, .trust = old.pem }, ENSIGN_E_CERTIFICATE,
            "CA CN=old CA above the certificate of localhost:5356 expired on 2001-02-03", "clock");
    accepted((rig_opts_t){ .cert = &c, .trust = old.pem, .ignore_dates = true });
    certs_free(&c);
    certs_free(&old);
}

static void self_signed_certificate(void **state)
{
    certs_t c;
    (void)state;
    certs_make(&c, NULL, "CN=self", "localhost", CERTS_FROM, CERTS_TO);
    refused((rig_opts_t){ .cert = &c }, ENSIGN_E_CERTIFICATE, "is self-signed and not in tls.ca_pem",
            "give it in tls.ca_file");
    refused((rig_opts_t){ .cert = &c, .ignore_dates = true }, ENSIGN_E_CERTIFICATE, "self-signed",
            "tls.ca_pem");
    accepted((rig_opts_t){ .cert = &c, .trust = c.pem });
    accepted((rig_opts_t){ .cert = &c, .insecure = true, .host = "example.org" });
    certs_free(&c);
}

static void unknown_ca(void **state)
{
    (void)state;
    refused((rig_opts_t){ .cert = &leaf, .trust = other_ca.pem }, ENSIGN_E_CERTIFICATE,
            "is signed by CN=test CA, not in tls.ca_pem", "give that CA");
}

static void wrong_host(void **state)
{
    certs_t c;
    (void)state;
    refused((rig_opts_t){ .cert = &leaf, .host = "example.org" }, ENSIGN_E_HOSTNAME,
            "certificate for localhost, *.test.example, an IP address, an IP address, not for example.org",
            "tls.server_name");
    refused((rig_opts_t){ .cert = &leaf, .host = "a.b.test.example" }, ENSIGN_E_HOSTNAME, "a.b.test.example",
            "*.test.example");
    refused((rig_opts_t){ .cert = &leaf, .host = "localhos" }, ENSIGN_E_HOSTNAME, "localhost",
            "not for localhos;");
    accepted((rig_opts_t){ .cert = &leaf, .host = "a.test.example" });
    accepted((rig_opts_t){ .cert = &leaf, .host = "LOCALHOST" });
    accepted((rig_opts_t){ .cert = &leaf, .host = "localhost." });
    certs_make(
        &c, &ca, "CN=many",
        "a-rather-long-name.one.example,a-rather-long-name.two.example,\x01\xFF.three.example,four.example",
        CERTS_FROM, CERTS_TO);
    refused((rig_opts_t){ .cert = &c }, ENSIGN_E_HOSTNAME, "a-rather-long-name.one.example",
            "set tls.server_name");
    certs_free(&c);
}

/* Its CN would fit, and does not count (RFC 6125, 6.4.4). */
static void a_san_without_a_host_is_told(void **state)
{
    certs_t c;
    (void)state;
    certs_make(&c, &ca, "CN=localhost", "admin@test.example", CERTS_FROM, CERTS_TO);
    refused((rig_opts_t){ .cert = &c }, ENSIGN_E_HOSTNAME,
            "has an e-mail address, but no host name, in its SAN", "use one with localhost in its SAN");
    certs_free(&c);
    certs_make(&c, &ca, "CN=localhost", "uri:x", CERTS_FROM, CERTS_TO);
    refused((rig_opts_t){ .cert = &c }, ENSIGN_E_HOSTNAME, "has other kinds of names, but no host name",
            "SAN");
    certs_free(&c);
    certs_make(&c, &ca, "CN=localhost", "admin@test.example,else.example", CERTS_FROM, CERTS_TO);
    refused((rig_opts_t){ .cert = &c }, ENSIGN_E_HOSTNAME,
            "a certificate for else.example, not for localhost", "dial a name that it has");
    certs_free(&c);
}

/* What a certificate calls itself is shown as far as it can be: without a SAN its subject, and what cannot
 * be printed is a '?'. */
static void names_that_are_hard_to_show(void **state)
{
    char subject[440];
    certs_t c, root;
    (void)state;
    certs_make(&c, &ca, "CN=bytes", "\x01\xFF\x7F.three.example", CERTS_FROM, CERTS_TO);
    refused((rig_opts_t){ .cert = &c }, ENSIGN_E_HOSTNAME, "certificate for ???.three.example, not for",
            "dial a name");
    certs_free(&c);
    certs_make(&c, &ca, "CN=other.example", "", CERTS_FROM, CERTS_TO);
    refused((rig_opts_t){ .cert = &c }, ENSIGN_E_HOSTNAME, "certificate for CN=other.example, not for",
            "tls.server_name");
    certs_free(&c);
    snprintf(subject, sizeof subject, "CN=%0200d,O=%0200d", 1, 2);
    certs_make(&root, NULL, subject, NULL, CERTS_FROM, CERTS_TO);
    certs_make(&c, &root, "CN=leaf", "localhost", CERTS_FROM, CERTS_TO);
    refused((rig_opts_t){ .cert = &c }, ENSIGN_E_CERTIFICATE, "is signed by (no readable name), not in",
            "give that CA");
    certs_free(&c);
    certs_free(&root);
}

/* The server sends its own root along, which we do not trust. */
static void a_chain_to_an_unknown_root(void **state)
{
    certs_t c = leaf;
    size_t len = strlen(c.pem);
    (void)state;
    assert_true(len + strlen(ca.pem) < sizeof c.pem);
    memcpy(c.pem + len, ca.pem, strlen(ca.pem) + 1);
    refused((rig_opts_t){ .cert = &c, .trust = other_ca.pem }, ENSIGN_E_CERTIFICATE,
            "is signed by CN=test CA, not in tls.ca_pem", "give that CA");
}

static void a_certificate_signed_with_a_broken_hash(void **state)
{
    certs_t c;
    (void)state;
    certs_make_with(&c, &ca, "CN=weak", "localhost", CERTS_FROM, CERTS_TO, MBEDTLS_MD_SHA1);
    refused((rig_opts_t){ .cert = &c }, ENSIGN_E_CERTIFICATE,
            "signed with a hash that is too weak, SHA-1 or older", "have the server use another one");
    certs_free(&c);
}

static void ip_address_as_host(void **state)
{
    certs_t c;
    (void)state;
    accepted((rig_opts_t){ .cert = &leaf, .host = "127.0.0.1" });
    accepted((rig_opts_t){ .cert = &leaf, .host = "::1" });
    refused((rig_opts_t){ .cert = &leaf, .host = "127.0.0.2" }, ENSIGN_E_HOSTNAME,
            "not for the address 127.0.0.2", "iPAddress");
    refused((rig_opts_t){ .cert = &leaf, .host = "::2" }, ENSIGN_E_HOSTNAME, "not for the address ::2",
            "tls.server_name");
    refused((rig_opts_t){ .cert = &leaf, .host = "127.0.0.1x" }, ENSIGN_E_HOSTNAME, "127.0.0.1x",
            "localhost");
    certs_make(&c, &other_ca, "CN=leaf", "ip:127.0.0.1", CERTS_FROM, CERTS_TO);
    refused((rig_opts_t){ .cert = &c, .host = "127.0.0.1" }, ENSIGN_E_CERTIFICATE, "CN=other CA",
            "give that CA");
    certs_free(&c);
    /* a certificate's host name does not count as an address, whatever its shape and place */
    certs_make(&c, &ca, "CN=192.0.2.1", "", CERTS_FROM, CERTS_TO);
    refused((rig_opts_t){ .cert = &c, .host = "192.0.2.1" }, ENSIGN_E_HOSTNAME, "address 192.0.2.1", "iPAddress");
    certs_free(&c);
    certs_make(&c, &ca, "CN=leaf", "192.0.2.1,*.0.2.1", CERTS_FROM, CERTS_TO);
    refused((rig_opts_t){ .cert = &c, .host = "192.0.2.1" }, ENSIGN_E_HOSTNAME, "address 192.0.2.1", "iPAddress");
    certs_free(&c);
}

static void ip_addresses_are_read(void **state)
{
    static const struct { const char *text; size_t len; uint8_t first, last; } cases[] = {
        { "127.0.0.1", 4, 127, 1 }, { "255.255.255.255", 4, 255, 255 },
        { "::", 16, 0, 0 }, { "::1", 16, 0, 1 },
        { "fe80::", 16, 0xFE, 0 }, { "2001:db8::Ff", 16, 0x20, 0xFF }, { "1:2:3:4:5:6:7:8", 16, 0, 8 },
        { "1::3:4:5:6:7:8", 16, 0, 8 }, { "::ffff:1.2.3.4", 16, 0, 4 }, { "1:2:3:4:5:6:1.2.3.4", 16, 0, 4 },
        { "", 0, 0, 0 }, { "1.2.3", 0, 0, 0 }, { "1.2.3.4.5", 0, 0, 0 }, { "1.2.3.256", 0, 0, 0 },
        { "1.2.3.", 0, 0, 0 },
        { "1.2.3.0004", 0, 0, 0 }, { ":", 0, 0, 0 }, { ":::", 0, 0, 0 }, { "1:2:3:4:5:6:7", 0, 0, 0 },
        { "1:", 0, 0, 0 },
        { "1:2:3:4:5:6:7:8:9", 0, 0, 0 }, { "1::2::3", 0, 0, 0 }, { "12345::", 0, 0, 0 },
        { "::1.2.3.4:5", 0, 0, 0 },
        { "1:2:3:4:5:6:7:1.2.3.4", 0, 0, 0 }, { "::1:2:3:4:5:6:7:8", 0, 0, 0 }, { "fe80::1%eth0", 0, 0, 0 },
        { "abcd", 0, 0, 0 }, { "localhost", 0, 0, 0 },
    };
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(cases); i++) {
        uint8_t out[16];
        size_t len = ensi_ip(cases[i].text, out);
        if (len != cases[i].len) fail_msg("%s: %u bytes", cases[i].text, (unsigned)len);
        if (len > 0 && (out[0] != cases[i].first || out[len - 1] != cases[i].last))
            fail_msg("%s: wrong bytes", cases[i].text);
    }
}

static void no_alpn_and_other_alpn(void **state)
{
    (void)state;
    refused((rig_opts_t){ .cert = &leaf, .server_alpn = "" }, ENSIGN_E_ALPN, "agreed on no protocol",
            "h2 is needed");
    refused((rig_opts_t){ .cert = &leaf, .server_alpn = "http/1.1" }, ENSIGN_E_ALPN,
            "no_application_protocol", "h2");
    accepted((rig_opts_t){ .cert = &leaf, .server_alpn = "", .no_alpn = true });
}

static void played(const void *bytes, size_t len, int cut, const char *part, const char *part2)
{
    rig_t *r = rig_open((rig_opts_t){ .cut = cut });

    memcpy(r->s_tx.ptr, bytes, len);
    r->s_tx.end = len;
    assert_int_equal(shake(r), ENSIGN_E_TLS);
    assert_text(r, part);
    assert_text(r, part2);
    rig_close(r);
}

static void plaintext_server(void **state)
{
    static const char http1[] = "HTTP/1.1 400 Bad Request\r\n\r\n", ssh[] = "SSH-2.0-x\r\n";
    static const uint8_t http2[] = { 0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100 };
    (void)state;
    for (int cut = WHOLE; cut <= RANDOM; cut++) {
        played(http1, sizeof http1 - 1, cut,
               "localhost:5356 does not speak TLS, it answers in plaintext HTTP/1", "set tls.off");
        played(http2, sizeof http2, cut, "does not speak TLS, it sends plaintext HTTP/2",
               "use the right port");
        played(ssh, sizeof ssh - 1, cut, "its first bytes are 53 53 48 2D 32", "set tls.off");
    }
}

/* A server that is TLS at first sight, or HTTP/2: a look at the next byte tells. */
static void bytes_that_only_begin_like_a_protocol(void **state)
{
    (void)state;
    played("\x16xyz12", 6, WHOLE, "does not speak TLS, its first bytes are 16 78 79 7A 31", "set tls.off");
    played("\0\0\0\5\0\0", 6, WHOLE, "does not speak TLS, its first bytes are 00 00 00 05 00",
           "set tls.off");
}

/* The handshake message of this type that is on its way to the client; its first byte is the type. */
static uint8_t *handshake_message(rig_t *r, uint8_t type)
{
    const uint8_t *p = r->s_tx.ptr;

    for (size_t at = 0; at + 5 < r->s_tx.end; at += 5 + (size_t)(p[at + 3] << 8 | p[at + 4]))
        if (p[at] == 22 && p[at + 5] == type) return r->s_tx.ptr + at + 5;
    fail_msg("no handshake message of type %u", (unsigned)type);
    return NULL;
}

/* The server's flight of TLS 1.2, with one byte of one message changed. */
static void spoiled(uint8_t type, size_t byte, uint8_t value, int code, const char *part)
{
    rig_t *r = rig_open((rig_opts_t){ .cert = &leaf, .tls12 = true });

    assert_int_equal(ensi_tls_handshake(&r->tls, &r->error), ENSIGN_AGAIN);
    exchange(r);
    server_step(r);
    handshake_message(r, type)[byte] = value;
    assert_int_equal(shake(r), code);
    assert_text(r, part);
    rig_close(r);
}

static void what_is_wrong_with_a_handshake_is_named(void **state)
{
    enum { SERVER_HELLO = 2, CERTIFICATE = 11, KEY_EXCHANGE = 12, HEAD = 4 };
    (void)state;
    spoiled(SERVER_HELLO, 3, 1, ENSIGN_E_TLS, "handshake with localhost:5356 failed: ");
    spoiled(CERTIFICATE, HEAD + 6, 9, ENSIGN_E_CERTIFICATE, "the certificate of localhost:5356 cannot be");
#if MBEDTLS_VERSION_NUMBER < 0x03000000
    spoiled(CERTIFICATE, HEAD, 9, ENSIGN_E_CERTIFICATE, "the certificate of localhost:5356 cannot be used");
    spoiled(SERVER_HELLO, HEAD + 34, 200, ENSIGN_E_TLS, "its ServerHello is malformed or has what we");
    spoiled(SERVER_HELLO, HEAD + 1, 2, ENSIGN_E_TLS, "it wants a TLS version below 1.2");
    spoiled(KEY_EXCHANGE, HEAD, 9, ENSIGN_E_TLS, "its key exchange is malformed or wrongly signed");
#else
    spoiled(CERTIFICATE, HEAD, 9, ENSIGN_E_TLS, "a message is malformed");
#endif
}

static void alerts_are_named(void **state)
{
    static const struct { uint8_t number; const char *name, *advice; } cases[] = {
        { 42, "bad_certificate", "may want a client certificate: set tls.cert_file and tls.key_file" },
        { 70, "alert 70, protocol_version", "1.2" },
        { 112, "unrecognized_name", "tls.server_name" },
        { 116, "certificate_required", "set a client certificate: tls.cert_file and tls.key_file" },
        { 200, "alert 200, of an unknown kind", "" },
    };
    (void)state;
    played("\x15\x03\x03\x00\x02\x02\x28", 7, BYTES,
           "localhost:5356 ended the handshake with alert 40, handshake_failure",
           "it wants a client certificate (tls.cert_file), or its own is Ed25519 or RSA-PSS, which mbedTLS");
    for (size_t i = 0; i < ENSI_COUNT(cases); i++) {
        uint8_t record[] = { 21, 3, 3, 0, 2, 2, cases[i].number };
        played(record, sizeof record, WHOLE, cases[i].name, cases[i].advice);
    }
    played("\x15\x03\x03\x00\x02\x01\x00", 7, WHOLE, "closed the connection during the handshake",
           "close_notify");
}

static void garbage_is_refused(void **state)
{
    uint8_t bytes[3000];
    uint64_t seed = 99;
    (void)state;
    for (int i = 0; i < 50; i++) {
        certs_random(&seed, bytes, sizeof bytes);
        bytes[0] = 99;
        played(bytes, sizeof bytes, RANDOM, "does not speak TLS", "tls.off");
        bytes[0] = 22; /* a record at first sight, of a bearable length */
        bytes[1] = bytes[2] = 3;
        bytes[3] = (uint8_t)(i % 8);
        played(bytes, sizeof bytes, RANDOM, "handshake with localhost:5356 failed: ", "mbedTLS -0x");
    }
}

/* Whatever the lengths of names, the text keeps its end, which says what to do. */
static void long_names_leave_room_for_the_advice(void **state)
{
    static const struct { ensi_tls_cause_t cause; const char *end; } cases[] = {
        { ENSI_TLS_BAD_DATE, "set the clock" }, { ENSI_TLS_BAD_CHAIN, "ca_pem" },
        { ENSI_TLS_BAD_CHAIN, "its chain" }, { ENSI_TLS_BAD_USE, "another one" },
        { ENSI_TLS_BAD_NAME, "tls.server_name" }, { ENSI_TLS_BAD_NAME, "tls.server_name" },
    };
    rig_t *r = rig_open((rig_opts_t){ 0 });
    ensi_tls_t *t = &r->tls;
    (void)state;
    memset(t->where, 'w', sizeof t->where - 1);
    memset(t->host, 'h', sizeof t->host - 1);
    for (size_t i = 0; i < ENSI_COUNT(cases); i++) {
        memset(&t->bad, 0, sizeof t->bad);
        memset(t->bad.names, 'n', sizeof t->bad.names - 1);
        r->conf.trust = "/usr/local/share/certs/ca-root-nss.crt";
        t->bad.depth = i == 0;
        t->bad.flags = i == 0 ? MBEDTLS_X509_BADCERT_EXPIRED : MBEDTLS_X509_BADCERT_EXT_KEY_USAGE;
        t->bad.self_signed = i == 1;
        t->bad.cause = cases[i].cause;
        t->ip_len = i == 4 ? 16 : 0;
        t->end = ENSIGN_OK;
        assert_true(ensi_tls_fail(t, MBEDTLS_ERR_X509_CERT_VERIFY_FAILED, &r->error) < 0);
        assert_text(r, cases[i].end);
        assert_string_equal(r->error.text + strlen(r->error.text) - strlen(cases[i].end), cases[i].end);
    }
    rig_close(r);
}

/* ---- trust store, entropy, arguments */

static int open_conf(ensi_tls_opts_t o, ensign_error_t *e)
{
    ensi_tls_conf_t conf;
    int rc = ensi_tls_conf_open(&conf, &o, e);

    assert_int_equal(conf.open, rc == ENSIGN_OK);
    ensi_tls_conf_close(&conf);
    ensi_tls_conf_close(&conf);
    return rc;
}

static void ca_pem_with_and_without_its_nul(void **state)
{
    ensi_tls_opts_t o;
    ensign_error_t e;
    (void)state;
    memset(&o, 0, sizeof o);
    o.ca_pem = text_slice(ca.pem);
    assert_int_equal(open_conf(o, &e), ENSIGN_OK);
    o.ca_pem.len++;
    assert_int_equal(open_conf(o, &e), ENSIGN_OK);
    o.ca_pem.len /= 2;
    assert_int_equal(open_conf(o, &e), ENSIGN_E_FORMAT);
    assert_non_null(strstr(e.text, "tls.ca_pem"));
    o.ca_pem = text_slice("");
    assert_int_equal(open_conf(o, &e), ENSIGN_E_FORMAT); /* and not the system's bundle */
    o.ca_pem = text_slice("no certificate");
    assert_int_equal(open_conf(o, &e), ENSIGN_E_FORMAT);
    assert_non_null(strstr(e.text, "BEGIN CERTIFICATE"));
}

static void ca_file_missing_or_wrong(void **state)
{
    ensi_tls_opts_t o;
    ensign_error_t e;
    (void)state;
    memset(&o, 0, sizeof o);
    o.ca_file = "tests/no-such-folder/ca.pem";
    assert_int_equal(open_conf(o, &e), ENSIGN_E_FILE);
    assert_int_equal(e.native, ENOENT);
    assert_non_null(strstr(e.text, "tests/no-such-folder/ca.pem cannot be read"));
    assert_non_null(strstr(e.text, "set tls.ca_file"));
    o.ca_file = "/dev/null";
    assert_int_equal(open_conf(o, &e), ENSIGN_E_FORMAT);
    o.insecure_skip_verify = true; /* nothing is verified, nothing is needed */
    assert_int_equal(open_conf(o, &e), ENSIGN_OK);
}

/* Where no bundle of the system's is, as in a small container. */
static void no_bundle_names_the_places(void **state)
{
    ensi_tls_opts_t o;
    ensign_error_t e;
    (void)state;
    memset(&o, 0, sizeof o);
    files_hidden = true;
    assert_int_equal(open_conf(o, &e), ENSIGN_E_FILE);
    assert_non_null(strstr(e.text, "/etc/ssl/certs/ca-certificates.crt"));
    assert_non_null(strstr(e.text, "/usr/local/share/certs/ca-root-nss.crt"));
    assert_non_null(strstr(e.text, "install ca-certificates or set tls.ca_file or ca_pem"));
    hidden_errno = 0; /* the C standard does not ask for one */
    o.ca_file = "ca.pem";
    assert_int_equal(open_conf(o, &e), ENSIGN_E_FILE);
    assert_int_equal(e.native, ENOENT);
    o.insecure_skip_verify = true; /* needs none */
    assert_int_equal(open_conf(o, &e), ENSIGN_OK);
    hidden_errno = ENOENT;
    files_hidden = false;
}

static void system_bundle_or_the_list_of_places(void **state)
{
    ensi_tls_opts_t o;
    ensign_error_t e;
    int rc;
    (void)state;
    memset(&o, 0, sizeof o);
    rc = open_conf(o, &e);
    if (rc == ENSIGN_OK) return;
    assert_int_equal(rc, ENSIGN_E_FILE);
    assert_non_null(strstr(e.text, "/etc/ssl/certs/ca-certificates.crt"));
    assert_non_null(strstr(e.text, "set tls.ca_file or ca_pem"));
}

typedef struct { int calls, rc; uint64_t seed; } hook_t;

static int hook_random(void *user, void *out, size_t len)
{
    hook_t *h = user;

    h->calls++;
    certs_random(&h->seed, out, len);
    return h->rc;
}

static void random_hook_is_the_entropy(void **state)
{
    hook_t h = { 0, 0, 5 };
    ensi_tls_opts_t o;
    ensign_error_t e;
    uint8_t first[32], again[32];
    ensi_tls_conf_t conf;
    (void)state;
    memset(&o, 0, sizeof o);
    o.insecure_skip_verify = true;
    o.random = hook_random;
    o.user = &h;
    for (int i = 0; i < 2; i++) {
        h.seed = 5;
        assert_int_equal(ensi_tls_conf_open(&conf, &o, &e), ENSIGN_OK);
        assert_int_equal(mbedtls_ctr_drbg_random(&conf.drbg, i ? again : first, sizeof first), 0);
        ensi_tls_conf_close(&conf);
    }
    assert_true(h.calls >= 2);
    assert_memory_equal(first, again, sizeof first); /* from nowhere else */
    h.rc = -1;
    assert_int_equal(open_conf(o, &e), ENSIGN_E_TLS);
    assert_non_null(strstr(e.text, "random hook"));
}

static void server_name_has_bounds(void **state)
{
    char name[300];
    rig_t *r = rig_open((rig_opts_t){ 0 });
    ensi_tls_t t;
    (void)state;
    memset(name, 'a', sizeof name);
    name[254] = '\0';
    assert_int_equal(ensi_tls_open(&t, &r->conf, name, "a:1", &r->c_rx, &r->c_tx, &r->error),
                     ENSIGN_E_ARGUMENT);
    assert_text(r, "254 characters, 1 to 253");
    ensi_tls_close(&t);
    assert_int_equal(ensi_tls_open(&t, &r->conf, "", "a:1", &r->c_rx, &r->c_tx, &r->error),
                     ENSIGN_E_ARGUMENT);
    assert_int_equal(ensi_tls_open(&t, &r->conf, NULL, "a:1", &r->c_rx, &r->c_tx, &r->error),
                     ENSIGN_E_ARGUMENT);
    assert_text(r, "0 characters, 1 to 253");
    assert_int_equal(ensi_tls_handshake(&t, &r->error), ENSIGN_E_STATE);
    name[253] = '\0';
    assert_int_equal(ensi_tls_open(&t, &r->conf, name, "a:1", &r->c_rx, &r->c_tx, &r->error), ENSIGN_OK);
    ensi_tls_close(&t);
    rig_close(r);
}

/* ---- our own certificate */

/* The server does not take our certificate, or misses one. An mbedTLS server says nothing when it misses one
 * in TLS 1.2, and in TLS 1.3 encrypts its alert with keys of the handshake, which is over for us: then `part`
 * is NULL. tests/e2e has servers of OpenSSL. */
static void refused_for_own(rig_opts_t o, const char *part, const char *part2)
{
    rig_t *r = rig_open(o);
    uint8_t byte;
    size_t len;
    int rc = shake(r);

    for (int i = 0; i < 8 && (rc == ENSIGN_OK || rc == ENSIGN_AGAIN); i++) {
        exchange(r);
        server_step(r);
        exchange(r);
        rc = r->tls.up ? ensi_tls_read(&r->tls, &byte, 1, &len, &r->error)
            : ensi_tls_handshake(&r->tls, &r->error);
    }
    assert_false(r->s_up);
    assert_true(r->s_failed);
    if (part) {
        assert_int_equal(rc, ENSIGN_E_TLS);
        assert_text(r, part);
        assert_text(r, part2);
    }
    rig_close(r);
}

static void a_server_gets_the_certificate_it_asks_for(void **state)
{
    rig_opts_t o = { .cert = &leaf, .client_ca = &ca, .own = mine.pem, .own_key = mine_key };
    const mbedtls_x509_crt *seen;
    rig_t *r;
    (void)state;
    for (int tls12 = 0; tls12 < 2; tls12++) {
        o.tls12 = tls12 == 1;
        r = rig_open(o);
        if (shake(r) != ENSIGN_OK) fail_msg("%s", r->error.text);
        seen = mbedtls_ssl_get_peer_cert(&r->s_ssl);
        assert_non_null(seen);
        assert_int_equal(seen->raw.len, r->conf.own.raw.len);
        assert_memory_equal(seen->raw.p, r->conf.own.raw.p, seen->raw.len);
        flow_both_ways(r, 1000);
        rig_close(r);
    }
    o.client_ca = NULL; /* a server that does not ask gets none, and is content */
    r = rig_open(o);
    assert_int_equal(shake(r), ENSIGN_OK);
    assert_null(mbedtls_ssl_get_peer_cert(&r->s_ssl));
    rig_close(r);
}

static void a_server_that_wants_another_certificate(void **state)
{
    rig_opts_t none = { .cert = &leaf, .client_ca = &ca }, other = none;
    (void)state;
    other.own = other_mine.pem;
    other.own_key = other_key;
    for (int tls12 = 0; tls12 < 2; tls12++) {
        bool mute = ENSI_TLS_HAS_1_3 && !tls12;
        none.tls12 = other.tls12 = tls12 == 1;
        refused_for_own(none, NULL, NULL);
        refused_for_own(other, mute ? NULL : "unknown_ca; it does not take our client certificate",
                        "set tls.cert_file to one that it trusts");
    }
}

/* Its chain goes along: the server knows the root alone. */
static void the_chain_goes_along(void **state)
{
    char chain[2 * sizeof mine.pem];
    certs_t below, own;
    char key[1024];
    (void)state;
    certs_make(&below, &ca, "CN=below", NULL, CERTS_FROM, CERTS_TO);
    certs_make(&own, &below, "CN=own", "", CERTS_FROM, CERTS_TO);
    assert_int_equal(mbedtls_pk_write_key_pem(&own.key, (unsigned char *)key, sizeof key), 0);
    snprintf(chain, sizeof chain, "%s%s", own.pem, below.pem);
    refused_for_own(
        (rig_opts_t){ .cert = &leaf, .client_ca = &ca, .own = own.pem, .own_key = key, .tls12 = true },
        "unknown_ca", "client certificate");
    accepted((rig_opts_t){ .cert = &leaf, .client_ca = &ca, .own = chain, .own_key = key });
    certs_free(&own);
    certs_free(&below);
}

typedef struct {
    const char *cert, *key, *password;
    int code;                       /* OK: it is taken */
    const char *says, *advice;
} own_case_t;

static void own_refused(const own_case_t *x)
{
    ensi_tls_opts_t o;
    ensign_error_t e;
    int rc;

    memset(&o, 0, sizeof o);
    memset(&e, 0, sizeof e);
    o.insecure_skip_verify = true;
    o.cert_pem = text_slice(x->cert);
    o.key_pem = text_slice(x->key);
    o.key_password = x->password;
    rc = open_conf(o, &e);
    if (rc != x->code) fail_msg("%d instead of %d: %s", rc, x->code, e.text);
    if (rc == ENSIGN_OK) return;
    if (!strstr(e.text, x->says) || !strstr(e.text, x->advice)) fail_msg("not \"%s\": %s", x->says, e.text);
    assert_true(strlen(e.text) < sizeof e.text - 1);
    if (x->password) assert_null(strstr(e.text, x->password));
}

static void own_certificates_and_keys_are_checked(void **state)
{
    static const char garbage[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    char two[sizeof ec_cert + sizeof ed_cert];
    const own_case_t cases[] = {
        { mine.pem, mine_key, NULL, ENSIGN_OK, "", "" },
        { mine.pem, mine_key, "not needed", ENSIGN_OK, "", "" },
        { ec_cert, ec_key_traditional, "sesame", ENSIGN_OK, "", "" },
        { ec_cert, ec_key_des3, "sesame", ENSIGN_OK, "", "" },
        { ec_cert, ec_key_traditional, NULL, ENSIGN_E_ARGUMENT, "the key of tls.key_pem is encrypted",
          "set tls.key_password" },
        { ec_cert, ec_key_des3, NULL, ENSIGN_E_ARGUMENT, "is encrypted", "set tls.key_password" },
        { ec_cert, ec_key_des3, "open-barley", ENSIGN_E_ARGUMENT, "does not decrypt the key of tls.key_pem",
          "set the one that it was encrypted with" },
        { ec_cert, ec_key_traditional, "open-barley", ENSIGN_E_ARGUMENT, "does not decrypt",
          "tls.key_password" },
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
        { ec_cert, ec_key_aes, "sesame", ENSIGN_OK, "", "" },
#else
        { ec_cert, ec_key_aes, "sesame", ENSIGN_E_FORMAT, "cannot decrypt the key of tls.key_pem",
          "convert it with openssl pkcs8 -topk8 -v2 des3" },
#endif
        { mine.pem, other_key, NULL, ENSIGN_E_ARGUMENT,
          "the key of tls.key_pem does not belong to the first certificate of tls.cert_pem", "one pair" },
        { mine.pem, "", NULL, ENSIGN_E_FORMAT, "tls.key_pem has no private key", "BEGIN PRIVATE KEY" },
        { mine.pem, mine.pem, NULL, ENSIGN_E_FORMAT, "tls.key_pem has no private key", "BEGIN PRIVATE KEY" },
        { mine.pem, ed_key, NULL, ENSIGN_E_FORMAT,
          "its kind of key is one that mbedTLS lacks, such as Ed25519",
          "use an RSA key, or an EC key on P-256" },
        { ed_cert, ed_key, NULL, ENSIGN_E_FORMAT,
          "signed by an algorithm that mbedTLS lacks, such as Ed25519", "use RSA or ECDSA" },
        { pss_cert, ed_key, NULL, ENSIGN_E_FORMAT, "its kind of key is one that mbedTLS lacks",
          "use RSA or ECDSA" },
        { "", mine_key, NULL, ENSIGN_E_FORMAT, "tls.cert_pem has no certificate", "BEGIN CERTIFICATE" },
        { garbage, mine_key, NULL, ENSIGN_E_FORMAT, "tls.cert_pem has no certificate",
          "tls.cert_pem must hold" },
        { two, mine_key, NULL, ENSIGN_E_FORMAT, "cannot read 1 of the certificates in tls.cert_pem",
          "an RSA or EC key" },
    };
    (void)state;
    snprintf(two, sizeof two, "%s%s", ec_cert, ed_cert);
    for (size_t i = 0; i < ENSI_COUNT(cases); i++) own_refused(&cases[i]);
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static void own_certificate_from_files(void **state)
{
    char dir[] = "/tmp/ensign-tls-XXXXXX", cert[200], key[200];
    ensi_tls_opts_t o;
    ensign_error_t e;
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(cert, sizeof cert, "%s/cert-%0100d.pem", dir, 1); /* a long name cuts no advice off */
    snprintf(key, sizeof key, "%s/key-%0100d.pem", dir, 1);
    memset(&o, 0, sizeof o);
    o.insecure_skip_verify = true;
    o.cert_file = cert;
    o.key_file = key;
    assert_int_equal(open_conf(o, &e), ENSIGN_E_FILE);
    assert_int_equal(e.native, ENOENT);
    assert_non_null(strstr(e.text, "cert_file /tmp/ensign-tls-"));
    assert_non_null(strstr(e.text, "set tls.cert_file to a readable PEM file"));
    write_text(cert, "nothing");
    assert_int_equal(open_conf(o, &e), ENSIGN_E_FORMAT);
    assert_non_null(strstr(e.text, "tls.cert_file must hold PEM, \"-----BEGIN CERTIFICATE-----\" and so on"));
    write_text(cert, ec_cert);
    assert_int_equal(open_conf(o, &e), ENSIGN_E_FILE);
    assert_non_null(strstr(e.text, "key_file /tmp/ensign-tls-"));
    assert_non_null(strstr(e.text, "set tls.key_file to a readable PEM file"));
    write_text(key, "nothing");
    assert_int_equal(open_conf(o, &e), ENSIGN_E_FORMAT);
    assert_non_null(strstr(e.text, "it must hold PEM, \"-----BEGIN PRIVATE KEY-----\" and so on"));
    write_text(key, ed_key);
    assert_int_equal(open_conf(o, &e), ENSIGN_E_FORMAT);
    assert_non_null(strstr(e.text, "an EC key on P-256"));
    write_text(key, ec_key_traditional);
    assert_int_equal(open_conf(o, &e), ENSIGN_E_ARGUMENT);
    assert_non_null(strstr(e.text, "the key of /tmp/ensign-tls-"));
    assert_non_null(strstr(e.text, "set tls.key_password to its password"));
    o.key_password = "wrong";
    assert_int_equal(open_conf(o, &e), ENSIGN_E_ARGUMENT);
    assert_non_null(strstr(e.text, "set the one that it was encrypted with"));
    o.key_password = "sesame";
    assert_int_equal(open_conf(o, &e), ENSIGN_OK);
    write_text(key, mine_key);
    assert_int_equal(open_conf(o, &e), ENSIGN_E_ARGUMENT);
    assert_non_null(strstr(e.text, "does not belong to the first certificate of /tmp/ensign-tls-"));
    assert_non_null(strstr(e.text, "with the certificate before its chain"));
    assert_int_equal(remove(cert) | remove(key) | remove(dir), 0);
}

/* ---- versions */

static void a_version_can_be_asked_for(void **state)
{
    rig_t *r;
    (void)state;
    refused((rig_opts_t){ .cert = &leaf, .tls12 = true, .min_version = ENSI_TLS_HAS_1_3 ? ENSIGN_TLS_1_3 : 0,
                          .host = ENSI_TLS_HAS_1_3 ? NULL : "example.org" },
            ENSI_TLS_HAS_1_3 ? ENSIGN_E_TLS : ENSIGN_E_HOSTNAME,
            ENSI_TLS_HAS_1_3 ? "handshake_failure; it may lack TLS 1.3" : "example.org",
            ENSI_TLS_HAS_1_3 ? "the tls.min_version" : "localhost");
    r = rig_open((rig_opts_t){ .cert = &leaf });
    assert_int_equal(shake(r), ENSIGN_OK);
    assert_string_equal(mbedtls_ssl_get_version(&r->tls.ssl), ENSI_TLS_HAS_1_3 ? "TLSv1.3" : "TLSv1.2");
    rig_close(r);
    r = rig_open((rig_opts_t){ .cert = &leaf, .tls12 = true, .min_version = ENSIGN_TLS_1_2 });
    assert_int_equal(shake(r), ENSIGN_OK);
    assert_string_equal(mbedtls_ssl_get_version(&r->tls.ssl), "TLSv1.2");
    rig_close(r);
}

/* ---- sessions that are resumed */

typedef struct {
    mbedtls_ssl_ticket_context tickets;
    uint64_t seed;
    ensi_tls_saved_t saved;
} tickets_t;

static void tickets_open(tickets_t *t)
{
    memset(t, 0, sizeof *t);
    t->seed = 3;
    mbedtls_ssl_ticket_init(&t->tickets);
    assert_int_equal(
        mbedtls_ssl_ticket_setup(&t->tickets, certs_random, &t->seed, MBEDTLS_CIPHER_AES_256_GCM, 3600), 0);
}

/* The keys of the server are lost, as by a restart. */
static void tickets_forget(tickets_t *t)
{
    mbedtls_ssl_ticket_free(&t->tickets);
    mbedtls_ssl_ticket_init(&t->tickets);
    t->seed += 1000;
    assert_int_equal(
        mbedtls_ssl_ticket_setup(&t->tickets, certs_random, &t->seed, MBEDTLS_CIPHER_AES_256_GCM, 3600), 0);
}

static void tickets_close(tickets_t *t)
{
    ensi_tls_forget(&t->saved);
    ensi_tls_forget(&t->saved);
    mbedtls_ssl_ticket_free(&t->tickets);
}

/* One connection that works, up to its orderly end. Was it resumed? */
static bool connects_resumed(rig_opts_t o)
{
    rig_t *r = rig_open(o);
    bool resumed;
    int rc = shake(r);

    if (rc != ENSIGN_OK) fail_msg("%d: %s", rc, r->error.text);
    resumed = ensi_tls_resumed(&r->tls);
    flow_both_ways(r, 1000); /* TLS 1.3: the ticket comes with it */
    assert_int_equal(ensi_tls_resumed(&r->tls), resumed);
    rig_close(r);
    return resumed;
}

static rig_opts_t with_tickets(tickets_t *t, int tls12)
{
    rig_opts_t o = { .cert = &leaf, .tickets = &t->tickets, .saved = &t->saved, .port = 443 };

    o.tls12 = tls12 != 0;
    o.now_ms = 1000;
    return o;
}

static void the_next_connection_resumes(void **state)
{
    tickets_t t;
    (void)state;
    for (int tls12 = 0; tls12 < 2; tls12++) {
        rig_opts_t o;
        tickets_open(&t);
        o = with_tickets(&t, tls12);
        assert_false(connects_resumed(o));
        for (int i = 0; i < 3; i++) {
            assert_true(t.saved.any);
            o.now_ms += 1000;
            assert_true(connects_resumed(o));
            assert_int_equal(t.saved.verified_ms, 1000);
        }
        tickets_close(&t);
    }
}

static void a_session_is_for_one_endpoint_and_name(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        tickets_t t, auth;
        rig_opts_t o;
        tickets_open(&t);
        tickets_open(&auth);
        o = with_tickets(&t, i >= 4);
        assert_false(connects_resumed(o));
        if (i % 4 == 0) o.endpoint = "localhosts";
        if (i % 4 == 1) o.port = 444;
        if (i % 4 == 2) o.host = "a.test.example";
        if (i % 4 == 3) o.saved = &auth.saved;
        assert_false(connects_resumed(o));
        assert_true(connects_resumed(o)); /* and that one is for what it was made with */
        tickets_close(&auth);
        tickets_close(&t);
    }
}

static void without_resumption_nothing_is_saved(void **state)
{
    (void)state;
    for (int tls12 = 0; tls12 < 2; tls12++) {
        tickets_t t;
        rig_opts_t o;
        tickets_open(&t);
        o = with_tickets(&t, tls12);
        o.no_resume = true;
        assert_false(connects_resumed(o));
        assert_false(t.saved.any);
        o.no_resume = false;
        assert_false(connects_resumed(o));
        o.no_resume = true;
        assert_false(connects_resumed(o));
        tickets_close(&t);
    }
}

/* A certificate that is no longer good is seen after a day at the latest. */
static void a_session_lasts_a_day(void **state)
{
    (void)state;
    for (int tls12 = 0; tls12 < 2; tls12++) {
        tickets_t t;
        rig_opts_t o;
        tickets_open(&t);
        o = with_tickets(&t, tls12);
        assert_false(connects_resumed(o));
        o.now_ms += ENSI_TLS_RESUME_MS / 2;
        assert_true(connects_resumed(o)); /* which does not lengthen it */
        o.now_ms += ENSI_TLS_RESUME_MS / 2;
        assert_false(connects_resumed(o));
        assert_true(connects_resumed(o));
        tickets_close(&t);
    }
}

/* The server has lost its keys: the handshake is a full one, and what it shows is verified. */
static void a_refused_ticket_means_a_full_handshake(void **state)
{
    certs_t gone;
    (void)state;
    certs_make(&gone, &ca, "CN=gone", "gone.example", CERTS_FROM, CERTS_TO);
    for (int tls12 = 0; tls12 < 2; tls12++) {
        tickets_t t;
        rig_opts_t o;
        tickets_open(&t);
        o = with_tickets(&t, tls12);
        assert_false(connects_resumed(o));
        tickets_forget(&t);
        assert_false(connects_resumed(o));
        if (!t.saved.any) assert_false(connects_resumed(o)); /* TLS 1.2: see ensi_tls_accept */
        assert_true(connects_resumed(o));
        tickets_forget(&t);
        o.cert = &gone;
        refused(o, ENSIGN_E_HOSTNAME, "gone.example", "localhost");
        assert_false(t.saved.any);
        refused(o, ENSIGN_E_HOSTNAME, "gone.example", "localhost");
        tickets_close(&t);
    }
    certs_free(&gone);
}

/* The server gives no tickets any more: what it gave before is not kept with the new secrets. */
static void no_ticket_no_session(void **state)
{
    tickets_t t;
    rig_opts_t o;
    (void)state;
    tickets_open(&t);
    o = with_tickets(&t, 1);
    assert_false(connects_resumed(o));
    o.tickets = NULL;
    assert_false(connects_resumed(o));
    assert_false(t.saved.any);
    tickets_close(&t);
}

/* Whatever goes wrong takes the session along. */
static void a_failure_drops_the_session(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++) {
        tickets_t t;
        rig_opts_t o;
        rig_t *r;
        uint8_t byte = 'x';
        size_t len;
        tickets_open(&t);
        o = with_tickets(&t, i % 2);
        assert_false(connects_resumed(o));
        assert_true(t.saved.any);
        r = rig_open(o);
        if (i < 2) { /* a handshake that is cut */
            r->to_client_max = 60;
            assert_int_equal(shake(r), ENSIGN_AGAIN);
        } else if (i < 4) { /* one that is changed on its way */
            assert_int_equal(ensi_tls_handshake(&r->tls, &r->error), ENSIGN_AGAIN);
            exchange(r);
            server_step(r);
            r->s_tx.ptr[r->s_tx.end - 1] ^= 0x80;
            assert_true(shake(r) < 0);
        } else { /* a record, when all is saved */
            assert_int_equal(shake(r), ENSIGN_OK);
            assert_true(ensi_tls_resumed(&r->tls));
            flow_both_ways(r, 100);
            assert_true(t.saved.any);
            assert_int_equal(mbedtls_ssl_write(&r->s_ssl, &byte, 1), 1);
            r->s_tx.ptr[r->s_tx.end - 1] ^= 0x80;
            exchange(r);
            assert_int_equal(ensi_tls_read(&r->tls, &byte, 1, &len, &r->error), ENSIGN_E_TLS);
        }
        rig_close(r);
        assert_false(t.saved.any);
        assert_false(connects_resumed(o));
        tickets_close(&t);
    }
}

static void an_orderly_end_keeps_the_session(void **state)
{
    (void)state;
    for (int tls12 = 0; tls12 < 2; tls12++) {
        tickets_t t;
        rig_opts_t o;
        rig_t *r;
        uint8_t byte;
        size_t len;
        tickets_open(&t);
        o = with_tickets(&t, tls12);
        r = rig_open(o);
        assert_int_equal(shake(r), ENSIGN_OK);
        flow_both_ways(r, 100);
        assert_int_equal(mbedtls_ssl_close_notify(&r->s_ssl), 0);
        exchange(r);
        assert_int_equal(ensi_tls_read(&r->tls, &byte, 1, &len, &r->error), ENSIGN_E_CLOSED);
        rig_close(r);
        assert_true(connects_resumed(o));
        tickets_close(&t);
    }
}

/* What stands behind a ticket (TLS 1.3) or a warning (TLS 1.2) comes with the same read. */
static void a_ticket_hides_no_data(void **state)
{
    (void)state;
    for (int tls12 = 0; tls12 < 2; tls12++) {
        tickets_t t;
        rig_t *r;
        uint8_t byte = 0;
        size_t len;
        tickets_open(&t);
        r = rig_open(with_tickets(&t, tls12));
        while (ensi_tls_handshake(&r->tls, &r->error) == ENSIGN_AGAIN) {
            exchange(r);
            server_step(r);
        }
        assert_true(r->tls.up);
        carry(r, &r->c_tx, &r->s_rx, SIZE_MAX);
        for (int i = 0; i < 3; i++) server_step(r);
        assert_true(r->s_up);
        if (tls12 || !ENSI_TLS_HAS_1_3)
            assert_int_equal(mbedtls_ssl_send_alert_message(&r->s_ssl, MBEDTLS_SSL_ALERT_LEVEL_WARNING,
                                                            MBEDTLS_SSL_ALERT_MSG_USER_CANCELED), 0);
        assert_int_equal(mbedtls_ssl_write(&r->s_ssl, (const uint8_t *)"x", 1), 1);
        exchange(r);
        assert_int_equal(ensi_tls_read(&r->tls, &byte, 1, &len, &r->error), ENSIGN_OK);
        assert_int_equal(byte, 'x');
        assert_true(t.saved.any);
        rig_close(r);
        tickets_close(&t);
    }
}

/* With insecure_skip_verify nothing was verified, and nothing is when it is resumed. */
static void unverified_sessions_resume_as_such(void **state)
{
    tickets_t t;
    rig_opts_t o;
    (void)state;
    tickets_open(&t);
    o = with_tickets(&t, 0);
    o.insecure = true;
    o.host = "example.org";
    assert_false(connects_resumed(o));
    assert_true(connects_resumed(o));
    tickets_close(&t);
}

/* Without memory no session is saved, and everything else works. */
static void no_memory_no_session(void **state)
{
    (void)state;
    for (long n = 0;; n++) {
        tickets_t t;
        rig_opts_t o;
        rig_t *r;
        tickets_open(&t);
        o = with_tickets(&t, 1);
        r = rig_open(o);
        assert_int_equal(shake(r), ENSIGN_OK);
        ensi_tls_forget(&t.saved);
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
        r->tls.ssl.MBEDTLS_PRIVATE(session)->MBEDTLS_PRIVATE(exported) = 0;
#endif
        heap_failed = 0;
        heap_left = n;
        heap_counts = true;
        ensi_tls_save(&r->tls);
        heap_counts = false;
        heap_left = -1;
        assert_int_equal(t.saved.any, heap_failed == 0);
        flow_both_ways(r, 100);
        rig_close(r);
        tickets_close(&t);
        if (heap_failed == 0) break;
    }
}

/* ---- the key log */

#if ENSI_TLS_HAS_KEY_LOG
typedef struct { int lines; char line[8][256]; } keys_t;

static void take_key(void *user, const char *line)
{
    keys_t *k = user;

    assert_true(k->lines < 8);
    snprintf(k->line[k->lines++], sizeof k->line[0], "%s", line);
}

static void hex_of(char *out, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) snprintf(out + 2 * i, 3, "%02x", p[i]);
}

static const uint8_t *master_of(const rig_t *r)
{
    return r->s_ssl.ENSI_TLS_MEMBER(session)->ENSI_TLS_MEMBER(master);
}

/* The random bytes are those of the hello on the wire, the secret is the server's. */
static void a_key_of_tls_1_2_is_logged(void **state)
{
    enum { RANDOM_AT = 5 + 4 + 2 };
    tickets_t t;
    rig_opts_t o;
    (void)state;
    tickets_open(&t);
    for (int resumed = 0; resumed < 2; resumed++) {
        keys_t keys;
        rig_t *r;
        char want[256] = "CLIENT_RANDOM ";
        memset(&keys, 0, sizeof keys);
        o = with_tickets(&t, 1);
        o.key_log = take_key;
        o.user = &keys;
        r = rig_open(o);
        assert_int_equal(ensi_tls_handshake(&r->tls, &r->error), ENSIGN_AGAIN);
        assert_true(r->c_tx.end > RANDOM_AT + 32);
        hex_of(want + strlen(want), r->c_tx.ptr + RANDOM_AT, 32);
        strcat(want, " ");
        assert_int_equal(shake(r), ENSIGN_OK);
        assert_int_equal(ensi_tls_resumed(&r->tls), resumed);
        hex_of(want + strlen(want), master_of(r), 48);
        assert_int_equal(keys.lines, 1);
        assert_string_equal(keys.line[0], want);
        rig_close(r);
    }
    tickets_close(&t);
}
#endif

#if ENSI_TLS_HAS_1_3
/* What the server exports for the same connection is the same. */
static void keys_of_tls_1_3_are_logged(void **state)
{
    static const char *const labels[] = { "CLIENT_HANDSHAKE_TRAFFIC_SECRET ",
                                          "SERVER_HANDSHAKE_TRAFFIC_SECRET ", "CLIENT_TRAFFIC_SECRET_0 ",
                                          "SERVER_TRAFFIC_SECRET_0 " };
    rig_t *r;
    keys_t keys, theirs;
    ensi_tls_opts_t log;
    char random[65];
    (void)state;
    memset(&keys, 0, sizeof keys);
    memset(&theirs, 0, sizeof theirs);
    memset(&log, 0, sizeof log);
    log.key_log = take_key;
    log.user = &theirs;
    r = rig_open((rig_opts_t){ .cert = &leaf, .key_log = take_key, .user = &keys });
    mbedtls_ssl_set_export_keys_cb(&r->s_ssl, ensi_tls_on_key, &log);
    assert_int_equal(ensi_tls_handshake(&r->tls, &r->error), ENSIGN_AGAIN);
    hex_of(random, r->c_tx.ptr + 11, 32);
    assert_int_equal(shake(r), ENSIGN_OK);
    for (size_t i = 0; i < ENSI_COUNT(labels); i++) {
        size_t len = strlen(labels[i]);
        int found = 0;
        for (int j = 0; j < keys.lines; j++) {
            const char *line = keys.line[j];
            if (strncmp(line, labels[i], len) != 0) continue;
            found++;
            assert_memory_equal(line + len, random, 64);
            assert_int_equal(line[len + 64], ' ');
            assert_int_equal(strspn(line + len + 65, "0123456789abcdef"), 64); /* of SHA-256 */
            assert_int_equal(strlen(line), len + 65 + 64);
        }
        assert_int_equal(found, 1);
        for (int j = 0; j < theirs.lines; j++) found += strcmp(theirs.line[j], keys.line[i]) == 0;
        assert_int_equal(found, 2);
    }
    assert_int_equal(keys.lines, ENSI_COUNT(labels));
    rig_close(r);
}
#endif

/* ---- no memory */

typedef struct { int opening, shaking; } scarce_t; /* how often it was told, and where */

/* One connection whose n-th allocation of mbedTLS fails, and with `stays` each one behind it. False: it
 * has fewer. A signature that cannot be computed is for mbedTLS one that is wrong, and so is a key whose
 * public half cannot be computed: we cannot tell. */
static bool connects_without(rig_opts_t o, long n, bool stays, scarce_t *sum)
{
    const bool entropy_hides_it = MBEDTLS_VERSION_NUMBER >= 0x03000000; /* it has failed, and not why */
    rig_t *r = rig_new(&o);
    int rc;

    heap_failed = 0;
    heap_left = n;
    heap_stays_empty = stays;
    heap_counts = true;
    rc = client_open(r, &o);
    heap_counts = false;
    if (rc != ENSIGN_OK) {
        bool hidden = entropy_hides_it && rc == ENSIGN_E_TLS;
        if (r->error.native != MBEDTLS_ERR_PK_KEY_INVALID_FORMAT)
            assert_true(rc == ENSIGN_E_MEMORY || hidden);
        sum->opening += !hidden;
    } else {
        rc = shake(r);
        assert_int_equal(rc == ENSIGN_OK, heap_failed == 0);
        if (rc == ENSIGN_E_MEMORY) sum->shaking++;
    }
    if (rc == ENSIGN_E_MEMORY) {
        assert_text(r, "no memory");
        assert_true(r->error.native < 0);
    }
    heap_left = -1;
    if (r->tls.open && heap_failed) assert_int_equal(ensi_tls_handshake(&r->tls, &r->error), rc); /* final */
    rig_close(r);
    return heap_failed > 0;
}

/* Whatever mbedTLS calls it, and with the code of the layer above that it adds. */
static void each_memory_error_is_memory(void **state)
{
    static const int codes[] = {
        MBEDTLS_ERR_SSL_ALLOC_FAILED, MBEDTLS_ERR_X509_ALLOC_FAILED, MBEDTLS_ERR_PK_ALLOC_FAILED,
        MBEDTLS_ERR_PEM_ALLOC_FAILED, MBEDTLS_ERR_ECP_ALLOC_FAILED, MBEDTLS_ERR_MD_ALLOC_FAILED,
        MBEDTLS_ERR_CIPHER_ALLOC_FAILED, MBEDTLS_ERR_MPI_ALLOC_FAILED, MBEDTLS_ERR_ASN1_ALLOC_FAILED,
        MBEDTLS_ERR_ECP_BAD_INPUT_DATA + MBEDTLS_ERR_MPI_ALLOC_FAILED,
        MBEDTLS_ERR_X509_INVALID_NAME + MBEDTLS_ERR_ASN1_ALLOC_FAILED,
    };
    static const int others[] = {
        MBEDTLS_ERR_SSL_INVALID_MAC, MBEDTLS_ERR_ECP_BAD_INPUT_DATA, MBEDTLS_ERR_X509_INVALID_NAME,
        MBEDTLS_ERR_MPI_BAD_INPUT_DATA, MBEDTLS_ERR_X509_INVALID_NAME + MBEDTLS_ERR_ASN1_UNEXPECTED_TAG,
    };
    rig_t *r = rig_open((rig_opts_t){ 0 });
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(codes); i++) {
        assert_int_equal(ensi_tls_fail(&r->tls, codes[i], &r->error), ENSIGN_E_MEMORY);
        assert_int_equal(r->error.native, codes[i]);
        assert_text(r, "no memory to connect to localhost:5356");
    }
    for (size_t i = 0; i < ENSI_COUNT(others); i++)
        assert_int_not_equal(ensi_tls_fail(&r->tls, others[i], &r->error), ENSIGN_E_MEMORY);
    rig_close(r);
}

/* The first allocations, one by one, and some of the thousands that the handshake takes. */
static void no_memory_is_told_as_such(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        rig_opts_t o = { .cert = &leaf, .client_ca = &ca, .own = mine.pem, .own_key = mine_key };
        scarce_t sum = { 0, 0 };
        long n = 0;
        if (i < 2) o.client_ca = NULL, o.own = o.own_key = NULL;
        while (connects_without(o, n, i % 2, &sum)) n += n < 70 ? 1 : n / 12;
        if (n == 0) skip(); /* this mbedTLS has a heap of its own */
        assert_true(sum.opening > 10 && sum.shaking > 10);
    }
}

static void make_client(certs_t *c, certs_t *issuer, char *key, size_t cap)
{
    certs_make(c, issuer, "CN=client", "", CERTS_FROM, CERTS_TO);
    assert_int_equal(mbedtls_pk_write_key_pem(&c->key, (unsigned char *)key, cap), 0);
}

static int make_certificates(void **state)
{
    (void)state;
    certs_make(&ca, NULL, "CN=test CA", NULL, CERTS_FROM, CERTS_TO);
    certs_make(&other_ca, NULL, "CN=other CA", NULL, CERTS_FROM, CERTS_TO);
    certs_make(&leaf, &ca, "CN=leaf",
               "localhost,*.test.example,ip:127.0.0.1,ip6:00000000000000000000000000000001", CERTS_FROM,
               CERTS_TO);
    make_client(&mine, &ca, mine_key, sizeof mine_key);
    make_client(&other_mine, &other_ca, other_key, sizeof other_key);
    return 0;
}

static int free_certificates(void **state)
{
    (void)state;
    certs_free(&other_mine);
    certs_free(&mine);
    certs_free(&leaf);
    certs_free(&other_ca);
    certs_free(&ca);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_survives_any_cut),
#ifdef MBEDTLS_SSL_MAX_FRAGMENT_LENGTH
        cmocka_unit_test(records_may_be_smaller),
#endif
        cmocka_unit_test(first_cipher_is_chacha20),
        cmocka_unit_test(a_write_without_room_is_refused),
        cmocka_unit_test(a_handshake_record_is_never_split),
        cmocka_unit_test(a_record_that_can_never_fit_is_an_error),
#ifdef MBEDTLS_SSL_RENEGOTIATION
        cmocka_unit_test(a_write_behind_a_held_alert_arrives),
#endif
        cmocka_unit_test(a_session_ticket_is_not_an_error),
        cmocka_unit_test(close_notify_ends_both_ways),
        cmocka_unit_test(a_changed_record_ends_the_connection),
        cmocka_unit_test(bye_without_room_or_handshake_does_nothing),
        cmocka_unit_test(an_alert_may_end_the_connection),
        cmocka_unit_test(a_cut_handshake_waits),
        cmocka_unit_test(a_changed_byte_is_never_accepted),
        cmocka_unit_test(expired_certificate),
        cmocka_unit_test(certificate_of_the_future),
        cmocka_unit_test(expired_ca),
        cmocka_unit_test(self_signed_certificate),
        cmocka_unit_test(unknown_ca),
        cmocka_unit_test(wrong_host),
        cmocka_unit_test(a_san_without_a_host_is_told),
        cmocka_unit_test(names_that_are_hard_to_show),
        cmocka_unit_test(a_chain_to_an_unknown_root),
        cmocka_unit_test(a_certificate_signed_with_a_broken_hash),
        cmocka_unit_test(ip_address_as_host),
        cmocka_unit_test(ip_addresses_are_read),
        cmocka_unit_test(no_alpn_and_other_alpn),
        cmocka_unit_test(plaintext_server),
        cmocka_unit_test(bytes_that_only_begin_like_a_protocol),
        cmocka_unit_test(what_is_wrong_with_a_handshake_is_named),
        cmocka_unit_test(alerts_are_named),
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test(long_names_leave_room_for_the_advice),
        cmocka_unit_test(ca_pem_with_and_without_its_nul),
        cmocka_unit_test(ca_file_missing_or_wrong),
        cmocka_unit_test(system_bundle_or_the_list_of_places),
        cmocka_unit_test(no_bundle_names_the_places),
        cmocka_unit_test(random_hook_is_the_entropy),
        cmocka_unit_test(server_name_has_bounds),
        cmocka_unit_test(a_server_gets_the_certificate_it_asks_for),
        cmocka_unit_test(a_server_that_wants_another_certificate),
        cmocka_unit_test(the_chain_goes_along),
        cmocka_unit_test(own_certificates_and_keys_are_checked),
        cmocka_unit_test(own_certificate_from_files),
        cmocka_unit_test(a_version_can_be_asked_for),
        cmocka_unit_test(the_next_connection_resumes),
        cmocka_unit_test(a_session_is_for_one_endpoint_and_name),
        cmocka_unit_test(without_resumption_nothing_is_saved),
        cmocka_unit_test(a_session_lasts_a_day),
        cmocka_unit_test(a_refused_ticket_means_a_full_handshake),
        cmocka_unit_test(no_ticket_no_session),
        cmocka_unit_test(a_failure_drops_the_session),
        cmocka_unit_test(an_orderly_end_keeps_the_session),
        cmocka_unit_test(a_ticket_hides_no_data),
        cmocka_unit_test(unverified_sessions_resume_as_such),
        cmocka_unit_test(no_memory_no_session),
#if ENSI_TLS_HAS_KEY_LOG
        cmocka_unit_test(a_key_of_tls_1_2_is_logged),
#endif
#if ENSI_TLS_HAS_1_3
        cmocka_unit_test(keys_of_tls_1_3_are_logged),
#endif
        cmocka_unit_test(each_memory_error_is_memory),
        cmocka_unit_test(no_memory_is_told_as_such),
    };

    return cmocka_run_group_tests(tests, make_certificates, free_certificates);
}
