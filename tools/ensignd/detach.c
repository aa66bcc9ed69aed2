/* detach.c - see detach.h */
#include "detach.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* The end of a server that did not get ready; it has said why on standard error itself, unless a signal
   ended it. */
static int failed_status(pid_t server)
{
    int status;

    while (waitpid(server, &status, 0) < 0)
        if (errno != EINTR) return 1;
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    fprintf(stderr, "ensignd: signal %d ended the server before it was ready\n", WTERMSIG(status));
    return 1;
}

/* One byte says that it is ready; the end of the pipe says that it has ended. */
static int wait_for(pid_t server, int pipe_end)
{
    char byte;
    ssize_t n;

    do n = read(pipe_end, &byte, 1);
    while (n < 0 && errno == EINTR);
    if (n != 1) return failed_status(server);
    printf("%ld\n", (long)server);
    return fflush(stdout) == 0 ? 0 : 1;
}

/* Of the server's process: no terminal, nothing to read. */
static bool leave_terminal(why_t *why)
{
    int nothing = open("/dev/null", O_RDONLY);

    setsid();
    if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0)
        return fail(why, "--detach: /dev/null cannot be read: %s", strerror(errno));
    if (nothing != STDIN_FILENO) close(nothing);
    return true;
}

bool detach_start(detach_t *d, why_t *why)
{
    int ends[2];
    pid_t server;

    if (pipe(ends) != 0)
        return fail(why, "--detach: no pipe: %s; allow the process more open files", strerror(errno));
    server = fork();
    if (server < 0)
        return fail(why, "--detach: no second process: %s; allow the user more of them", strerror(errno));
    if (server > 0) {
        close(ends[1]);
        exit(wait_for(server, ends[0]));
    }
    close(ends[0]);
    d->ready = ends[1];
    return leave_terminal(why);
}

bool detach_ready(detach_t *d, why_t *why)
{
    bool ok = write(d->ready, "", 1) == 1;

    close(d->ready);
    d->ready = -1;
    return ok || fail(why, "--detach: who started the server has not waited until it was ready");
}

bool output_open(const char *log_file, bool detached, int *fd, why_t *why)
{
    const char *file = log_file ? log_file : "/dev/null";

    *fd = -1;
    if (!log_file && !detached) return true;
    *fd = open(file, O_WRONLY | O_CREAT | O_APPEND, 0600);
    return *fd >= 0 ||
           fail(why, "--log-file %s cannot be written: %s; name a file in a folder that may be written", file,
                strerror(errno));
}

void output_take(int fd)
{
    if (fd < 0) return;
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    if (fd > STDERR_FILENO) close(fd);
}
