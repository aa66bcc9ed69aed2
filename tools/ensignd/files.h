/* files.h - what the server writes for its users: certificate, environment, pid */
#ifndef ENSIGND_FILES_H
#define ENSIGND_FILES_H
#include "options.h"
#include "log.h"

bool write_file(const char *option, const char *path, const char *text, why_t *why); /* whole or not at all */
bool write_env_file(const options_t *o, const char *endpoint, const char *auth_url, const keyring_t *keys,
                    why_t *why);
void name_unix(const char *path, char *endpoint, size_t cap);   /* for clients in any folder */
bool write_pid_file(const char *path, why_t *why);
void remove_pid_file(const char *path);         /* if the pid in it is ours */
#endif
