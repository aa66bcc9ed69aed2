/* grpc_bidi.c - talk with any bidirectional method: messages as hexadecimal lines, both ways
 * Shows   a call that sends and receives at once: standard input in ensign_wait, AGAIN and ROOM, half-close
 * Run     printf '1200\n' | build/examples/grpc_bidi /ensign.v1beta1.Ensign/Publish       (opens a stream)
 * Prints  each message of the server as a line; exit 0 when the call ended with OK
 * Next    sans_io.c */
#define _POSIX_C_SOURCE 200809L
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct { char text[8192]; size_t len; bool eof; } in;

static int fail(const ensign_error_t *why)
{
    fprintf(stderr, "grpc_bidi: %s\n", why->text);
    return 1;
}

/* The last line may have no newline. */
static void read_some(void)
{
    ssize_t n = read(STDIN_FILENO, in.text + in.len, sizeof in.text - 1 - in.len);

    in.eof = n <= 0;
    if (n > 0) in.len += (size_t)n;
    if (in.eof && in.len > 0 && in.text[in.len - 1] != '\n') in.text[in.len++] = '\n';
}

/* Sends the whole lines that are here. AGAIN: the line that found no room is still here. */
static int send_lines(ensign_t *c, ensign_call_t k)
{
    uint8_t bytes[sizeof in.text / 2];
    char *newline;

    while ((newline = memchr(in.text, '\n', in.len)) != NULL) {
        size_t line = (size_t)(newline - in.text), n = 0;
        int rc;
        for (; 2 * n + 1 < line; n++) {
            char pair[3] = { in.text[2 * n], in.text[2 * n + 1], '\0' };
            bytes[n] = (uint8_t)strtoul(pair, NULL, 16);
        }
        rc = ensign_call_send(c, k, ensign_bytes(bytes, n), 0);
        if (rc != ENSIGN_OK) return rc;
        in.len -= line + 1;
        memmove(in.text, newline + 1, in.len);
    }
    return ENSIGN_OK;
}

/* The call's notices, and the client's, which are passed over. True: it has ended, and *status says how. */
static bool take(ensign_t *c, bool *room, int *status)
{
    const ensign_notice_t *n;

    while ((n = ensign_next(c)) != NULL) {
        if (n->type == ENSIGN_NOTICE_ROOM) *room = true;
        if (n->type == ENSIGN_NOTICE_WAITING) fail(n->error);
        if (n->type == ENSIGN_NOTICE_MESSAGE) {
            for (size_t i = 0; i < n->as.message.bytes.len; i++) printf("%02x", n->as.message.bytes.ptr[i]);
            puts("");
            fflush(stdout);
        }
        if (n->last) return *status = n->error ? fail(n->error) : 0, true;
    }
    return false;
}

int main(int argc, char **argv)
{
    ensign_desc_t desc = { 0 };
    ensign_call_desc_t call = { 0 };
    ensign_error_t why;
    ensign_call_t k;
    ensign_t *c;
    bool room = true, closed = false;
    int status = 1;

    if (argc != 2) return fprintf(stderr, "usage: grpc_bidi METHOD < hexadecimal lines\n"), 2;
    if (ensign_desc_env(&desc, &why) != ENSIGN_OK) return fail(&why);
    if (ensign_create(&desc, &c, &why) != ENSIGN_OK) return fail(&why);
    call.method = argv[1];
    k = ensign_call_open(c, &call);
    if (k.id == 0) return fail(ensign_error(c));
    while (!take(c, &room, &status)) {
        ensign_poll_t input = { STDIN_FILENO, 0, ENSIGN_READ, 0 };
        int rc = room ? send_lines(c, k) : ENSIGN_AGAIN;
        bool wanted = room && !in.eof && in.len < sizeof in.text - 1;
        if (rc < 0) return fail(ensign_error(c));
        if (rc == ENSIGN_OK && in.len == sizeof in.text - 1)
            return fprintf(stderr, "grpc_bidi: a line is too long\n"), 1;
        room = rc != ENSIGN_AGAIN;
        if (rc == ENSIGN_OK && in.eof && !closed) closed = ensign_close(c, k.id, ENSIGN_FOREVER) == ENSIGN_OK;
        if (ensign_wait(c, &input, wanted ? 1 : 0, -1) < 0) return fail(ensign_error(c));
        if (input.ready) read_some();
    }
    ensign_destroy(c);
    return status;
}
