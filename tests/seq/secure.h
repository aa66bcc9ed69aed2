/* secure.h - TLS before the servers of a world: one certificate for "localhost", tickets, bytes by memory
 *
 *     w->secure = secure_open(seed);      before the first connection; the client trusts secure_ca()
 *     ...
 *     secure_close();                     at the end of the program
 *
 * It repeats itself: its random numbers have a seed, and secure_random feeds the client's. */
#ifndef SECURE_H
#define SECURE_H

#include "peer.h"
#include "../certs.h"

#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>

typedef struct secure_t {
    mbedtls_ssl_context ssl;
    conn_t *conn;
    bytes_t in;                     /* as it came; read up to in_at */
    size_t in_at;
    bool up, failed;
} secure_t;

static struct {
    bool made;                      /* the certificates */
    bool open;                      /* what a run has */
    certs_t ca, leaf;
    mbedtls_x509_crt chain;
    mbedtls_ssl_config config[2];   /* with ALPN and without: the auth service's */
    mbedtls_ssl_ticket_context tickets;
    const char *alpn[2];
    uint64_t rng, client_rng;
} secure;

static UNUSED ensign_slice_t secure_ca(void)
{
    return ensign_str(secure.ca.pem);
}

/* The client's `random` hook. */
static UNUSED int secure_random(void *user, void *out, size_t len)
{
    (void)user;
    return certs_random(&secure.client_rng, (unsigned char *)out, len);
}

static UNUSED int secure_recv(void *arg, unsigned char *out, size_t len)
{
    secure_t *s = (secure_t *)arg;
    size_t n = s->in.len - s->in_at;
    if (n == 0) return MBEDTLS_ERR_SSL_WANT_READ;
    if (n > len) n = len;
    memcpy(out, s->in.p + s->in_at, n);
    s->in_at += n;
    if (s->in_at == s->in.len) s->in_at = s->in.len = 0;
    return (int)n;
}

static UNUSED int secure_send(void *arg, const unsigned char *p, size_t len)
{
    bytes_add(&((secure_t *)arg)->conn->wire, p, len);
    return (int)len;
}

static UNUSED void secure_begin(conn_t *c)
{
    secure_t *s = (secure_t *)calloc(1, sizeof *s);
    if (!s) abort();
    s->conn = c;
    c->secure = s;
    mbedtls_ssl_init(&s->ssl);
    certs_check(mbedtls_ssl_setup(&s->ssl, &secure.config[c->link == ENSIGN_LINK_AUTH]), "a TLS server");
    mbedtls_ssl_set_bio(&s->ssl, s, secure_send, secure_recv, NULL);
}

static UNUSED void secure_end(conn_t *c)
{
    secure_t *s = (secure_t *)c->secure;
    if (!s) return;
    c->secure = NULL;
    mbedtls_ssl_free(&s->ssl);
    bytes_free(&s->in);
    free(s);
}

/* The client's bytes: the server has what is in the records. */
static UNUSED void secure_take(conn_t *c, const uint8_t *p, size_t n)
{
    secure_t *s = (secure_t *)c->secure;
    unsigned char plain[4096];
    int rc = 0;
    bytes_add(&s->in, p, n);
    if (!s->up && !s->failed) {
        rc = mbedtls_ssl_handshake(&s->ssl);
        s->up = rc == 0;
        s->failed = rc != 0 && rc != MBEDTLS_ERR_SSL_WANT_READ;
    }
    while (s->up && c->alive && (rc = mbedtls_ssl_read(&s->ssl, plain, sizeof plain)) > 0)
        world_plain(c, plain, (size_t)rc);
}

/* The server's bytes become records. */
static UNUSED void secure_give(conn_t *c)
{
    secure_t *s = (secure_t *)c->secure;
    while (s->up && conn_fill(c, 16384) > 0) {
        size_t n = c->out.len - c->out_at;
        int rc = mbedtls_ssl_write(&s->ssl, c->out.p + c->out_at, n < 16384 ? n : 16384);
        if (rc <= 0) return;
        c->out_at += (size_t)rc;
    }
}

static const world_secure_t secure_ways = { secure_begin, secure_take, secure_give, secure_end };

static UNUSED void secure_configure(mbedtls_ssl_config *config, bool alpn)
{
    mbedtls_ssl_config_init(config);
    certs_check(mbedtls_ssl_config_defaults(config, MBEDTLS_SSL_IS_SERVER, MBEDTLS_SSL_TRANSPORT_STREAM,
                                            MBEDTLS_SSL_PRESET_DEFAULT), "a TLS configuration");
    mbedtls_ssl_conf_rng(config, certs_random, &secure.rng);
    certs_check(mbedtls_ssl_conf_own_cert(config, &secure.chain, &secure.leaf.key), "a certificate");
    mbedtls_ssl_conf_session_tickets_cb(config, mbedtls_ssl_ticket_write, mbedtls_ssl_ticket_parse,
                                        &secure.tickets);
    if (alpn) certs_check(mbedtls_ssl_conf_alpn_protocols(config, secure.alpn), "ALPN");
}

static UNUSED void secure_shut(void)
{
    if (!secure.open) return;
    secure.open = false;
    for (int i = 0; i < 2; i++) mbedtls_ssl_config_free(&secure.config[i]);
    mbedtls_ssl_ticket_free(&secure.tickets);
}

static UNUSED void secure_close(void)
{
    secure_shut();
    if (!secure.made) return;
    mbedtls_x509_crt_free(&secure.chain);
    certs_free(&secure.ca);
    certs_free(&secure.leaf);
    secure.made = false;
}

static UNUSED const world_secure_t *secure_open(uint64_t seed)
{
    secure_shut();
    if (!secure.made) {
        certs_make(&secure.ca, NULL, "CN=test CA", NULL, CERTS_FROM, CERTS_TO);
        certs_make(&secure.leaf, &secure.ca, "CN=leaf", "localhost", CERTS_FROM, CERTS_TO);
        mbedtls_x509_crt_init(&secure.chain);
        certs_check(mbedtls_x509_crt_parse(&secure.chain, (const unsigned char *)secure.leaf.pem,
                                           strlen(secure.leaf.pem) + 1), "the chain");
        secure.made = true;
    }
    secure.rng = seed;
    secure.client_rng = ~seed;
    secure.alpn[0] = "h2";
    mbedtls_ssl_ticket_init(&secure.tickets);
    certs_check(mbedtls_ssl_ticket_setup(&secure.tickets, certs_random, &secure.rng, MBEDTLS_CIPHER_AES_256_GCM,
                                         86400), "tickets");
    secure_configure(&secure.config[0], true);
    secure_configure(&secure.config[1], false);
    secure.open = true;
    return &secure_ways;
}

#endif
