/* tls.h - mbedTLS, server side, over memory: ciphertext comes out of one buffer and goes into another
 *
 * The certificate is our own: made at the first start, kept in the store, its own trust anchor for
 * clients. */
#ifndef ENSIGND_TLS_H
#define ENSIGND_TLS_H
#include "util.h"

typedef struct tls_identity_t {
    char *certificate_pem;
    char *key_pem;
} tls_identity_t;

bool tls_identity_make(tls_identity_t *id, why_t *why);         /* for localhost, ECDSA P-256, ten years */
void tls_identity_free(tls_identity_t *id);

typedef struct tls_server_t tls_server_t;       /* one per port: certificate, key, tickets, ALPN */
/* client_ca: a file of certificates; each client must show one that they signed; NULL: none is asked for. */
tls_server_t *tls_server_open(const tls_identity_t *id, const char *protocol, const char *client_ca,
                              why_t *why);
void          tls_server_close(tls_server_t *s);

typedef struct tls_t tls_t;                     /* one per connection */
tls_t *tls_open(tls_server_t *s, buf_t *rx, buf_t *tx);         /* NULL: refused by mbedTLS */
int tls_handshake(tls_t *t); /* 1 done, 0 needs more bytes, -1 failed (the reason is logged) */
int    tls_read(tls_t *t, uint8_t *out, size_t cap);            /* > 0 bytes, 0 needs more, -1 ended */
bool   tls_write(tls_t *t, const uint8_t *p, size_t n);         /* whole, or the connection is lost */
void   tls_bye(tls_t *t);                       /* close_notify */
void   tls_close(tls_t *t);
#endif
