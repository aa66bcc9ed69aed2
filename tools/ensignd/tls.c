/* tls.c - see tls.h */
#include "tls.h"
#include <mbedtls/version.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>
#include <mbedtls/x509_crt.h>
#if MBEDTLS_VERSION_NUMBER >= 0x03060000 && defined(MBEDTLS_PSA_CRYPTO_C)
#include <psa/crypto.h>
#endif
#include <stdlib.h>
#include <string.h>

enum { TICKET_LIFE_S = 24 * 60 * 60 };

struct tls_server_t {
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_x509_crt cert, client_ca;
    mbedtls_pk_context key;
    mbedtls_ssl_config conf;
    mbedtls_ssl_ticket_context tickets;     /* their keys end with the server */
    const char *protocols[2];
};

struct tls_t {
    mbedtls_ssl_context ssl;
    buf_t *rx, *tx;
    bool ended;
};

static int parse_key(tls_server_t *s, const char *pem)
{
    const unsigned char *text = (const unsigned char *)pem;
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
    return mbedtls_pk_parse_key(&s->key, text, strlen(pem) + 1, NULL, 0, mbedtls_ctr_drbg_random, &s->random);
#else
    return mbedtls_pk_parse_key(&s->key, text, strlen(pem) + 1, NULL, 0);
#endif
}

static int configure(tls_server_t *s, const tls_identity_t *id)
{
    int rc = mbedtls_ctr_drbg_seed(&s->random, mbedtls_entropy_func, &s->entropy, NULL, 0);

    if (!rc) rc = mbedtls_x509_crt_parse(&s->cert, (const unsigned char *)id->certificate_pem,
                                         strlen(id->certificate_pem) + 1);
    if (!rc) rc = parse_key(s, id->key_pem);
    if (!rc) rc = mbedtls_ssl_config_defaults(&s->conf, MBEDTLS_SSL_IS_SERVER, MBEDTLS_SSL_TRANSPORT_STREAM,
                                              MBEDTLS_SSL_PRESET_DEFAULT);
    if (rc) return rc;
    mbedtls_ssl_conf_rng(&s->conf, mbedtls_ctr_drbg_random, &s->random);
#if MBEDTLS_VERSION_NUMBER >= 0x03020000
    mbedtls_ssl_conf_min_tls_version(&s->conf, MBEDTLS_SSL_VERSION_TLS1_2);
#else
    mbedtls_ssl_conf_min_version(&s->conf, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
#endif
    rc = mbedtls_ssl_ticket_setup(&s->tickets, mbedtls_ctr_drbg_random, &s->random,
                                  MBEDTLS_CIPHER_AES_256_GCM, TICKET_LIFE_S);
    mbedtls_ssl_conf_session_tickets_cb(&s->conf, mbedtls_ssl_ticket_write, mbedtls_ssl_ticket_parse,
                                        &s->tickets);
    if (!rc) rc = mbedtls_ssl_conf_alpn_protocols(&s->conf, s->protocols);
    return rc ? rc : mbedtls_ssl_conf_own_cert(&s->conf, &s->cert, &s->key);
}

/* Clients must show a certificate that is signed by one in the file. */
static bool ask_clients(tls_server_t *s, const char *path, why_t *why)
{
    char text[128];
    int rc = mbedtls_x509_crt_parse_file(&s->client_ca, path);

    if (rc > 0) return fail(why, "--client-ca %s: %d of its certificates cannot be read", path, rc);
    if (rc < 0) mbedtls_strerror(rc, text, sizeof text);
    if (rc < 0) return fail(why, "--client-ca %s: %s; name a readable file of PEM certificates", path, text);
    mbedtls_ssl_conf_ca_chain(&s->conf, &s->client_ca, NULL);
    mbedtls_ssl_conf_authmode(&s->conf, MBEDTLS_SSL_VERIFY_REQUIRED);
    return true;
}

tls_server_t *tls_server_open(const tls_identity_t *id, const char *protocol, const char *client_ca,
                              why_t *why)
{
    tls_server_t *s = x_alloc(sizeof *s);
    char text[128];
    int rc;

#if MBEDTLS_VERSION_NUMBER >= 0x03060000 && defined(MBEDTLS_PSA_CRYPTO_C)
    psa_crypto_init();
#endif
    mbedtls_entropy_init(&s->entropy);
    mbedtls_ctr_drbg_init(&s->random);
    mbedtls_x509_crt_init(&s->cert);
    mbedtls_x509_crt_init(&s->client_ca);
    mbedtls_ssl_ticket_init(&s->tickets);
    mbedtls_pk_init(&s->key);
    mbedtls_ssl_config_init(&s->conf);
    s->protocols[0] = protocol;
    rc = configure(s, id);
    if (rc == 0 && (!client_ca || ask_clients(s, client_ca, why))) return s;
    if (rc != 0) {
        mbedtls_strerror(rc, text, sizeof text);
        fail(why,
             "tls: the stored certificate or key is refused: %s; remove the data folder to make new ones", text);
    }
    tls_server_close(s);
    return NULL;
}

void tls_server_close(tls_server_t *s)
{
    if (!s) return;
    mbedtls_ssl_config_free(&s->conf);
    mbedtls_ssl_ticket_free(&s->tickets);
    mbedtls_pk_free(&s->key);
    mbedtls_x509_crt_free(&s->client_ca);
    mbedtls_x509_crt_free(&s->cert);
    mbedtls_ctr_drbg_free(&s->random);
    mbedtls_entropy_free(&s->entropy);
    free(s);
}

static int bio_send(void *user, const unsigned char *p, size_t n)
{
    tls_t *t = user;
    buf_put(t->tx, p, n);       /* takes all, so that a record never stops half way */
    return (int)n;
}

static int bio_recv(void *user, unsigned char *out, size_t cap)
{
    tls_t *t = user;
    size_t n = buf_len(t->rx) < cap ? buf_len(t->rx) : cap;
    if (n == 0) return MBEDTLS_ERR_SSL_WANT_READ;
    memcpy(out, t->rx->ptr + t->rx->start, n);
    buf_take(t->rx, n);
    return (int)n;
}

tls_t *tls_open(tls_server_t *s, buf_t *rx, buf_t *tx)
{
    tls_t *t = x_alloc(sizeof *t);

    t->rx = rx;
    t->tx = tx;
    mbedtls_ssl_init(&t->ssl);
    if (mbedtls_ssl_setup(&t->ssl, &s->conf) != 0) {
        tls_close(t);
        return NULL;
    }
    mbedtls_ssl_set_bio(&t->ssl, t, bio_send, bio_recv, NULL);
    return t;
}

static bool again(int rc)
{
#if defined(MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET)
    if (rc == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) return true;
#endif
    return rc == MBEDTLS_ERR_SSL_WANT_READ || rc == MBEDTLS_ERR_SSL_WANT_WRITE;
}

static int lost(tls_t *t, const char *doing, int rc)
{
    char text[128];

    t->ended = true;
    if (rc == 0 || rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) return -1;
    mbedtls_strerror(rc, text, sizeof text);
    log_line("tls: %s: %s", doing, text);
    return -1;
}

int tls_handshake(tls_t *t)
{
    int rc = mbedtls_ssl_handshake(&t->ssl);
    if (rc == 0) return 1;
    return again(rc) ? 0 : lost(t, "handshake", rc);
}

int tls_read(tls_t *t, uint8_t *out, size_t cap)
{
    int rc;

    if (t->ended) return -1;
    rc = mbedtls_ssl_read(&t->ssl, out, cap);
    if (rc > 0) return rc;
    return again(rc) ? 0 : lost(t, "read", rc);
}

bool tls_write(tls_t *t, const uint8_t *p, size_t n)
{
    while (n) {
        int rc = t->ended ? MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY : mbedtls_ssl_write(&t->ssl, p, n);
        if (rc <= 0) {
            lost(t, "write", rc);
            return false;
        }
        p += rc;
        n -= (size_t)rc;
    }
    return true;
}

void tls_bye(tls_t *t)
{
    if (!t->ended) mbedtls_ssl_close_notify(&t->ssl);
    t->ended = true;
}

void tls_close(tls_t *t)
{
    if (!t) return;
    mbedtls_ssl_free(&t->ssl);
    free(t);
}
