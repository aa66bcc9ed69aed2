/* server.h - for tests over sockets: an ensignd of the program's own, over a folder of its own, and its clients
 *
 * It runs $ENSIGND, or build/ensignd. A program makes the folder first, and has one server at a time. */
#ifndef SERVER_H
#define SERVER_H
#define _GNU_SOURCE
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { WAIT_MS = 60000 };

static const char *server_folder;       /* the newest one */
static char server_endpoint[64], server_auth[96];
static pid_t server;

static void in_folder(char out[64], const char *name)
{
    snprintf(out, 64, "%s/%s", server_folder, name);
}

/* `name` is a template of mkdtemp, and becomes the name. */
static void make_folder(char *name, const char *keys)
{
    char path[64];
    FILE *f;

    assert_non_null(mkdtemp(name));
    server_folder = name;
    in_folder(path, "keys");
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(keys, f);
    fclose(f);
}

static const char *program(void)
{
    const char *named = getenv("ENSIGND");
    return named ? named : "build/ensignd";
}

static void run_server(int out, const char *options)
{
    char data[64], keys[64], words[200];
    char *args[32] = { "ensignd", "--port", "0", "--auth-port", "0", "--keys", keys };
    int n = 7;

    in_folder(data, "data");
    in_folder(keys, "keys");
    snprintf(words, sizeof words, "%s", options);
    for (char *word = strtok(words, " "); word && n < 31; word = strtok(NULL, " "))
        args[n++] = strcmp(word, "DATA") == 0 ? data : word;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(out, STDOUT_FILENO);
    execv(program(), args);
    _exit(127);
}

/* `options`: words with a blank between. DATA is a folder in the folder. Returns when the server has said
 * where it is: "..., endpoint E, auth A". */
static void server_start(const char *options)
{
    char line[256] = "";
    int fds[2];
    FILE *f;

    assert_int_equal(pipe(fds), 0);
    server = fork();
    assert_true(server >= 0);
    if (server == 0) run_server(fds[1], options);
    close(fds[1]);
    f = fdopen(fds[0], "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    assert_int_equal(
        sscanf(line, "ensignd: ready, endpoint %63[^,], auth %95s", server_endpoint, server_auth), 2);
    fclose(f);
}

/* Returns the status of the process. */
static int server_stop(int signal)
{
    int status = -1;

    kill(server, signal);
    assert_int_equal(waitpid(server, &status, 0), server);
    return status;
}

static ensign_t *client_of(const char *id)
{
    ensign_desc_t d;
    ensign_error_t why;
    ensign_t *c;

    memset(&d, 0, sizeof d);
    d.endpoint = server_endpoint;
    d.auth_url = server_auth;
    d.client_id = id;
    d.client_secret = "a";
    d.tls.off = true;
    if (ensign_create(&d, &c, &why) != ENSIGN_OK) fail_msg("%s", why.text);
    return c;
}

static const ensign_notice_t *next(ensign_t *c, uint32_t handle)
{
    const ensign_notice_t *n = NULL;
    int rc = ensign_await(c, handle, WAIT_MS, &n);

    if (rc != ENSIGN_OK) fail_msg("%s", ensign_error(c)->text);
    return n;
}
#endif
