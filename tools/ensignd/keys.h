/* keys.h - projects and their API keys: from a file, or made at the first start and kept in the log
 *
 * Servers that share a log share these keys, also if all of them start for the first time at once. */
#ifndef ENSIGND_KEYS_H
#define ENSIGND_KEYS_H
#include "log.h"
#include <jansson.h>

/* The permissions that an API key can have, as bits; permission_names gives their names on the wire. */
enum {
    PERM_TOPICS_CREATE = 1, PERM_TOPICS_EDIT = 2, PERM_TOPICS_DESTROY = 4, PERM_TOPICS_READ = 8,
    PERM_METRICS_READ = 16, PERM_PUBLISHER = 32, PERM_SUBSCRIBER = 64, PERM_ALL = 127
};
#define PERM_COUNT 7
extern const char *const permission_names[PERM_COUNT];
unsigned permission_bit(const char *name);              /* 0: not known */

typedef struct api_key_t {
    ulid_t   id, project, org;
    char    *client_id, *client_secret;
    unsigned permissions;
    int64_t  used_seconds;                              /* last login; 0: never since the server started */
    int32_t  used_nanos;
} api_key_t;

typedef struct keyring_t { api_key_t *keys; size_t count; log_watch_t watch; } keyring_t;

bool       keyring_read_file(keyring_t *r, const char *path, why_t *why);
void       keyring_in_log(keyring_t *r, const log_t *l);                     /* those that it keeps */
bool       keyring_from_log(keyring_t *r, log_t *l, bool *made, why_t *why); /* makes those that lack */
/* Follows what other servers change from now on; lives as long as the log. Keys may move or go in log_run. */
void       keyring_watch(keyring_t *r, log_t *l);
/* The keys of --env-file, from the first one on, or NULL. Reader: of the first one's project, may
   not publish. Other: of another project. */
api_key_t *keyring_reader(const keyring_t *r);
api_key_t *keyring_other(const keyring_t *r);
api_key_t *keyring_by_client(const keyring_t *r, const char *client_id);
api_key_t *keyring_by_id(const keyring_t *r, const ulid_t *id);
bool       secret_matches(const api_key_t *k, const char *secret);
void       keyring_free(keyring_t *r);

/* The names, secret and permissions of a key, as a file of --keys has them; the texts are the caller's. */
bool       api_key_read(json_t *key, api_key_t *out, why_t *why);
bool       api_key_keep(log_t *l, const api_key_t *k, why_t *why);          /* in the log */
void       api_key_free(api_key_t *k);
#endif
