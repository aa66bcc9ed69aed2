/* auth.h - the tokens: made for API keys, verified for RPCs; one RSA key signs them all
 *
 * The key lies in the log. Servers that share a log share the key, and each takes the tokens of all of them.
 * A token's issuer is the URL of the one that made it; its signature says that it is one of them. */
#ifndef ENSIGND_AUTH_H
#define ENSIGND_AUTH_H
#include "keys.h"

typedef struct auth_lives_t {   /* seconds */
    int64_t access, refresh;    /* from the login on */
    int64_t overlap; /* the refresh token is valid this long after the access token's end; negative: before */
} auth_lives_t;

typedef struct claims_t {
    char     subject[ULID_TEXT + 1];
    ulid_t   key, project, org;
    bool     has_project;
    unsigned permissions;
    bool     for_refresh;       /* made for /v1/refresh */
    int64_t  issued;
} claims_t;

typedef struct tokens_t { char *access, *refresh; } tokens_t;

typedef struct auth_t auth_t;
auth_t *auth_open(log_t *l, const char *issuer, const auth_lives_t *lives,
                  why_t *why); /* the key: stored, or made */
bool    auth_issue(auth_t *a, const api_key_t *k, tokens_t *out);
void    tokens_free(tokens_t *t);
bool    auth_verify(auth_t *a, ensign_slice_t token, claims_t *out); /* signature, times, audience */
char   *auth_key_set(const auth_t *a);                          /* JSON; free() it */
const char *auth_issuer(const auth_t *a);
void    auth_close(auth_t *a);
#endif
