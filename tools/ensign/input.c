/* input.c - see input.h */
#include "input.h"
#include "output.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES 65536

bool input_open(input_t *in, const char *path)
{
    struct stat st;

    memset(in, 0, sizeof *in);
    in->ending = '\n';
    in->max = EVENT_MAX;
    in->name = strcmp(path, "-") == 0 ? "standard input" : path;
    in->fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (in->fd < 0 || fstat(in->fd, &st) != 0) {
        complain("%s cannot be opened: %s", in->name, strerror(errno));
        return false;
    }
    if (S_ISDIR(st.st_mode)) {
        complain("%s is a folder; name a file", in->name);
        input_close(in);
        return false;
    }
    in->max = EVENT_MAX;
    in->cap = 2 * READ_BYTES;
    in->buf = x_realloc(NULL, in->cap);
    in->regular = S_ISREG(st.st_mode);
    in->terminal = isatty(in->fd) == 1;
    if (in->regular) in->size = (uint64_t)st.st_size;
    return true;
}

/* Without opening it: of a pipe that would be its only reader's coming and going. */
bool input_there(const char *path)
{
    struct stat st;

    if (strcmp(path, "-") == 0) return true;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        complain("%s is a folder; name a file", path);
        return false;
    }
    if (access(path, R_OK) == 0) return true;
    complain("%s cannot be opened: %s", path, strerror(errno));
    return false;
}

void input_close(input_t *in)
{
    if (in->fd > STDIN_FILENO) close(in->fd);
    free(in->buf);
    in->buf = NULL;
    in->fd = -1;
}

line_t input_line(input_t *in, ensign_slice_t *line)
{
    uint8_t *from = in->buf + in->start, *ending = NULL;
    size_t len = in->end - in->start;

    if (len > 0) ending = memchr(from, in->ending, len);
    if (!ending && !in->eof) return len > in->max ? LINE_TOO_LONG : LINE_NONE;
    if (!ending && len == 0) return LINE_EOF;
    line->ptr = from;
    line->len = ending ? (size_t)(ending - from) : len;
    if (line->len > in->max) return LINE_TOO_LONG;
    in->start += line->len + (ending != NULL);
    in->taken += line->len + (ending != NULL);
    in->line++;
    return LINE_GOT;
}

/* Room for one read: what is there moves to the front, and the buffer grows only for one long line. */
static void input_room(input_t *in)
{
    if (in->start > 0) memmove(in->buf, in->buf + in->start, in->end - in->start);
    in->end -= in->start;
    in->start = 0;
    if (in->cap - in->end >= READ_BYTES) return;
    in->cap *= 2;
    in->buf = x_realloc(in->buf, in->cap);
}

bool input_read(input_t *in)
{
    ssize_t n;

    input_room(in);
    n = read(in->fd, in->buf + in->end, in->cap - in->end);
    if (n > 0) in->end += (size_t)n;
    else if (n == 0) in->eof = true;
    else if (errno != EINTR && errno != EAGAIN) {
        complain("%s cannot be read: %s", in->name, strerror(errno));
        in->eof = true;
        return false;
    }
    return true;
}

bool input_whole(const char *path, size_t max, const char *limit, uint8_t **out, size_t *len)
{
    input_t in;
    bool ok;

    *out = NULL;
    if (!input_open(&in, path)) return false;
    do ok = input_read(&in);
    while (ok && !in.eof && in.end <= max);
    if (ok && in.end > max) {
        complain("%s is larger than %zu bytes, the most that %s", in.name, max, limit);
        ok = false;
    }
    if (ok) {
        *out = in.buf;
        *len = in.end;
        in.buf = NULL;
    }
    input_close(&in);
    return ok;
}
