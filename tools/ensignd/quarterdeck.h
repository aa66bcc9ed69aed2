/* quarterdeck.h - the auth service's four endpoints and its probes, HTTP/1.1 by libmicrohttpd in our own loop
 *
 * With TLS, libmicrohttpd never sees it: each connection is ended by our mbedTLS and handed on through a
 * socket pair (relay.c). */
#ifndef ENSIGND_QUARTERDECK_H
#define ENSIGND_QUARTERDECK_H
#include "auth.h"
#include "loop.h"
#include "tls.h"

typedef struct quarterdeck_t quarterdeck_t;
typedef struct relays_t relays_t;

typedef struct quarterdeck_rules_t {
    bool     rate_limited, maintenance;
    int64_t  refuse;                    /* so many requests for tokens; -1: all */
    unsigned refuse_code;
} quarterdeck_rules_t;

quarterdeck_t *quarterdeck_open(loop_t *l, int listen_fd, tls_server_t *tls, auth_t *auth, keyring_t *keys,
                                const quarterdeck_rules_t *rules, why_t *why);
int            quarterdeck_timeout(quarterdeck_t *q);   /* ms; -1: none */
void           quarterdeck_run(quarterdeck_t *q);       /* once a turn */
void           quarterdeck_stop(quarterdeck_t *q);      /* answers 503 from now on */
void           quarterdeck_close(quarterdeck_t *q);

/* relay.c: accepts on a port, and gives the plaintext's end of each connection to `take`, which owns it
   then. */
relays_t *relays_open(loop_t *l, int listen_fd, tls_server_t *tls, bool (*take)(void *user, int fd),
                      void *user);
void      relays_reap(relays_t *r);                     /* between two turns */
void      relays_close(relays_t *r);
#endif
