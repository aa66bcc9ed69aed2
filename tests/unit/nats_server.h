/* nats_server.h - for tests of the engine on NATS: a nats-server of their own, with all that it keeps
 *
 * The program is $NATS_SERVER, or build/nats/nats-server, which tools/nats_server builds. Without it, and
 * without libnats, there is none, and the tests say so and are skipped. The server listens on a port that the
 * kernel chooses, writes it into a file, and is killed by its pid.
 * Where $NATS_URL is set, the tests run against the server that listens there, and start none. */
#ifndef NATS_SERVER_H
#define NATS_SERVER_H
#include "../../tools/ensignd/log_engine.h"
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct { pid_t pid; char folder[64], url[128]; } nats_server;

static bool nats_is_up(void)
{
    return nats_server.url[0] != '\0';
}

static const char *nats_program(void)
{
    const char *named = getenv("NATS_SERVER");
    return named && *named ? named : "build/nats/nats-server";
}

static bool nats_is_here(void)
{
    bool has_engine = log_nats.append != NULL;         /* else it was built without libnats */
    return has_engine && (getenv("NATS_URL") || access(nats_program(), X_OK) == 0);
}

/* `more`: lines of its configuration. */
static bool nats_configure(const char *more)
{
    char path[96];
    FILE *f;

    snprintf(path, sizeof path, "%s/conf", nats_server.folder);
    f = fopen(path, "w");
    if (!f) return false;
    fprintf(f, "listen: 127.0.0.1:-1\nports_file_dir: \"%s\"\n%s\n", nats_server.folder, more);
    if (!strstr(more, "max_payload")) fprintf(f, "max_payload: 8MB\n");
    if (!strstr(more, "jetstream")) fprintf(f, "jetstream { store_dir: \"%s/data\" }\n", nats_server.folder);
    return fclose(f) == 0;
}

static void nats_run(void)
{
    char path[96];
    int nothing = open("/dev/null", O_WRONLY);

    snprintf(path, sizeof path, "%s/conf", nats_server.folder);
    dup2(nothing, STDOUT_FILENO);
    dup2(nothing, STDERR_FILENO);
    execl(nats_program(), nats_program(), "-c", path, (char *)NULL);
    _exit(127);
}

/* The file is whole when it ends with a brace. */
static bool nats_read_port(void)
{
    static const char scheme[] = "nats://";
    char pattern[96], text[512], *at;
    glob_t found;
    size_t n = 0;
    FILE *f = NULL;

    snprintf(pattern, sizeof pattern, "%s/*.ports", nats_server.folder);
    if (glob(pattern, 0, NULL, &found) == 0) f = fopen(found.gl_pathv[0], "r");
    globfree(&found);
    if (f) n = fread(text, 1, sizeof text - 1, f);
    if (f) fclose(f);
    text[n] = '\0';
    at = strstr(text, scheme);
    if (!at || !strchr(at, '}')) return false;
    snprintf(nats_server.url, sizeof nats_server.url, "%.*s", (int)strcspn(at, "\""), at);
    return true;
}

/* False: it has ended before it listened. */
static bool nats_start(const char *more)
{
    struct timespec pause = { 0, 10000000 };
    const char *url = getenv("NATS_URL");

    if (url) {
        snprintf(nats_server.url, sizeof nats_server.url, "%s", url);
        return true;
    }
    snprintf(nats_server.folder, sizeof nats_server.folder, "/tmp/ensignd_nats.XXXXXX");
    if (!mkdtemp(nats_server.folder) || !nats_configure(more)) return false;
    nats_server.pid = fork();
    if (nats_server.pid == 0) nats_run();
    while (!nats_read_port()) {
        if (waitpid(nats_server.pid, NULL, WNOHANG) != 0) return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

static void nats_stop(void)
{
    char command[96];

    if (nats_server.pid <= 0) return;
    kill(nats_server.pid, SIGKILL);
    waitpid(nats_server.pid, NULL, 0);
    nats_server.pid = 0;
    nats_server.url[0] = '\0';
    snprintf(command, sizeof command, "rm -rf %s", nats_server.folder);
    if (system(command) != 0) fprintf(stderr, "%s is left\n", nats_server.folder);
}
#endif
