/* grpc_stream.c - read a server's stream: watch the health of any gRPC server
 * Shows   a call with many answers, to any service: HEADERS, MESSAGE, END; why nothing comes; cancelling
 * Run     build/examples/grpc_stream 1             (ENSIGN_ENDPOINT says which server; ends after one state)
 * Prints  each state as its number; exit 0 when as many came as were asked for
 * Next    grpc_bidi.c */
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include <stdio.h>
#include <stdlib.h>

static int fail(const ensign_error_t *why)
{
    fprintf(stderr, "grpc_stream: %s\n", why ? why->text : "the server has ended the stream");
    return 1;
}

/* HealthCheckResponse has one field, a varint below 128; an empty message stands for 0. */
static int status_of(ensign_slice_t message)
{
    return message.len == 2 && message.ptr[0] == 0x08 ? message.ptr[1] : 0;
}

int main(int argc, char **argv)
{
    ensign_desc_t desc = { 0 };
    ensign_call_desc_t call = { 0 };
    const ensign_notice_t *n;
    ensign_error_t why;
    ensign_call_t k;
    ensign_t *c;
    unsigned long left = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;

    if (left == 0) return fprintf(stderr, "usage: grpc_stream COUNT\n"), 2;
    if (ensign_desc_env(&desc, &why) != ENSIGN_OK) return fail(&why);
    if (ensign_create(&desc, &c, &why) != ENSIGN_OK) return fail(&why);
    call.method = "/grpc.health.v1.Health/Watch";
    call.wait_for_ready = true; /* the server may still be starting */
    call.no_token = true;
    k = ensign_call_open(c, &call);
    if (ensign_call_send(c, k, ensign_bytes("", 0), 0) != ENSIGN_OK) return fail(ensign_error(c));
    if (ensign_call_half_close(c, k) != ENSIGN_OK) return fail(ensign_error(c));
    do {
        if (ensign_await(c, k.id, -1, &n) != ENSIGN_OK) return fail(ensign_error(c));
        if (n->type == ENSIGN_NOTICE_WAITING) fail(n->error);
        if (n->type == ENSIGN_NOTICE_MESSAGE) {
            printf("%d\n", status_of(n->as.message.bytes));
            if (--left == 0) ensign_cancel(c, k.id); /* END with E_CANCELLED is the next notice */
        }
    } while (!n->last);
    if (left > 0) fail(n->error);
    ensign_destroy(c);
    return left > 0;
}
