/* protoc.c - see protoc.h */
#include "protoc.h"
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define READ_BYTES 65536
#define SET_MAX (64u << 20)

/* "-Idir" of the folder that a file lies in. */
static char *folder_option(const char *file)
{
    const char *slash = strrchr(file, '/');
    size_t len = !slash ? 1 : slash == file ? 1 : (size_t)(slash - file);
    char *option = x_keep(x_realloc(NULL, len + 3));

    memcpy(option, "-I", 2);
    memcpy(option + 2, slash ? file : ".", len);
    option[len + 2] = '\0';
    return option;
}

static char *path_option(const char *path)
{
    size_t len = strlen(path);
    char *option = x_keep(x_realloc(NULL, len + 3));

    memcpy(option, "-I", 2);
    memcpy(option + 2, path, len + 1);
    return option;
}

/* What protoc writes stands behind a pipe: no file is left over, however we end. */
static char **arguments(const list_t *files, const list_t *paths)
{
    static const char *const fixed[] = { "protoc", "--include_imports", "--include_source_info",
                                         "--descriptor_set_out=/dev/stdout" };
    char **args = x_realloc(NULL, (COUNT_OF(fixed) + 2 * files->count + paths->count + 2) * sizeof *args);
    size_t n = 0;

    for (size_t i = 0; i < COUNT_OF(fixed); i++) args[n++] = x_keep_text(fixed[i], strlen(fixed[i]));
    for (size_t i = 0; i < paths->count; i++) args[n++] = path_option(paths->at[i]);
    for (size_t i = 0; i < files->count && paths->count == 0; i++) args[n++] = folder_option(files->at[i]);
    for (size_t i = 0; i < files->count; i++) args[n++] = x_keep_text(files->at[i], strlen(files->at[i]));
    args[n] = NULL;
    return args;
}

static bool start(char **args, int out, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    int rc;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    rc = posix_spawnp(pid, args[0], &actions, NULL, args, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (rc == ENOENT) {
        complain("--proto needs the program protoc, and it is not on the PATH; install it (Debian: "
                 "protobuf-compiler), or give --protoset FILE");
    } else if (rc != 0) {
        complain("protoc cannot be run: %s", strerror(rc));
    }
    return rc == 0;
}

static bool read_all(int fd, uint8_t **out, size_t *len)
{
    size_t cap = 0;
    ssize_t n = 1;

    *len = 0;
    while (n != 0 && *len <= SET_MAX) {
        if (cap - *len < READ_BYTES) *out = x_realloc(*out, cap = 2 * cap + READ_BYTES);
        n = read(fd, *out + *len, cap - *len);
        if (n > 0) *len += (size_t)n;
        if (n < 0 && errno != EINTR) return false;
    }
    return n == 0;
}

bool protoc_run(const list_t *files, const list_t *paths, uint8_t **set, size_t *len)
{
    int ends[2], status = -1;
    bool ok;
    char **args;
    pid_t pid;

    *set = NULL;
    if (pipe(ends) != 0) {
        complain("there is no pipe to protoc: %s", strerror(errno));
        return false;
    }
    for (int i = 0; i < 2; i++) fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    args = arguments(files, paths);
    ok = start(args, ends[1], &pid);
    close(ends[1]);
    if (ok) {
        ok = read_all(ends[0], set, len);
        close(ends[0]); /* a protoc that still writes ends by it */
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
        ok = ok && status == 0;
        if (!ok)
            complain("protoc did not compile the files of --proto, and says why above; where it does not "
                     "find an import, name the root of the imports by -I DIR");
    } else {
        close(ends[0]);
    }
    free(args);
    return ok;
}
