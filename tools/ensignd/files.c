/* files.c - the files of certificate, environment and pid; see files.h */
#define _XOPEN_SOURCE 700       /* realpath */
#include "files.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static bool write_all(int fd, const char *text)
{
    size_t n = strlen(text);
    while (n) {
        ssize_t w = write(fd, text, n);
        if (w < 0 && errno != EINTR) return false;
        if (w > 0) {
            text += w;
            n -= (size_t)w;
        }
    }
    return true;
}

/* A reader that waits for the file must never see half of it: it appears by rename. */
bool write_file(const char *option, const char *path, const char *text, why_t *why)
{
    size_t n = strlen(path);
    char *other = x_alloc(n + 8);
    int fd;
    bool ok;

    snprintf(other, n + 8, "%s.new", path);
    fd = open(other, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ok = fd >= 0 && write_all(fd, text);
    if (fd >= 0) ok = close(fd) == 0 && ok;
    ok = ok && rename(other, path) == 0;
    if (!ok)
        fail(why, "%s %s cannot be written: %s; name a file in a folder that may be written", option, path,
             strerror(errno));
    free(other);
    return ok;
}

/* export NAME='value' */
static void put_assignment(buf_t *b, const char *name, const char *value)
{
    buf_put(b, "export ", 7);
    buf_put(b, name, strlen(name));
    buf_put(b, "='", 2);
    for (; *value; value++) {
        if (*value == '\'') buf_put(b, "'\\''", 4);
        else buf_put(b, value, 1);
    }
    buf_put(b, "'\n", 2);
}

static void put_key(buf_t *b, const char *who, const api_key_t *k)
{
    char name[64];

    if (!k) return;
    snprintf(name, sizeof name, "ENSIGN_%sCLIENT_ID", who);
    put_assignment(b, name, k->client_id);
    snprintf(name, sizeof name, "ENSIGN_%sCLIENT_SECRET", who);
    put_assignment(b, name, k->client_secret);
}

bool write_env_file(const options_t *o, const char *endpoint, const char *auth_url, const keyring_t *keys,
                    why_t *why)
{
    buf_t b = { NULL, 0, 0, 0 };
    char *ca = o->tls ? realpath(o->cert_file, NULL) : NULL;
    bool ok;

    put_assignment(&b, "ENSIGN_ENDPOINT", endpoint);
    put_assignment(&b, "ENSIGN_AUTH_URL", auth_url);
    put_key(&b, "", &keys->keys[0]);
    put_key(&b, "READER_", keyring_reader(keys));
    put_key(&b, "OTHER_", keyring_other(keys));
    if (o->tls) put_assignment(&b, "ENSIGN_CA_FILE", ca ? ca : o->cert_file);
    else put_assignment(&b, "ENSIGN_INSECURE", "true");
    buf_put(&b, "", 1);
    ok = write_file("--env-file", o->env_file, (const char *)b.ptr, why);
    buf_free(&b);
    free(ca);
    return ok;
}

/* The whole path may be too long for a socket where the given one is not. */
void name_unix(const char *path, char *endpoint, size_t cap)
{
    struct sockaddr_un a;
    char *whole = realpath(path, NULL);

    snprintf(endpoint, cap, "unix:%s", whole && strlen(whole) < sizeof a.sun_path ? whole : path);
    free(whole);
}

bool write_pid_file(const char *path, why_t *why)
{
    char text[32];

    snprintf(text, sizeof text, "%ld\n", (long)getpid());
    return write_file("--pid-file", path, text, why);
}

/* Another server may have been started with the same file. */
void remove_pid_file(const char *path)
{
    FILE *f = fopen(path, "r");
    long pid = 0;
    bool ours;

    if (!f) return;
    ours = fscanf(f, "%ld", &pid) == 1 && pid == (long)getpid();
    fclose(f);
    if (ours) (void)remove(path);
}
