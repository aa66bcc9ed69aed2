/* greeter.c - say hello to the server of gRPC's "hello world" examples
 * Shows   a typed call: structs in and out, by functions that protoc-gen-ensign has written
 * Run     build/examples/greeter world      (ENSIGN_ENDPOINT=localhost:50051, ENSIGN_INSECURE=1)
 *         Made from greeter.proto by protoc: tools/docs/typed-calls.md tells how
 * Prints  what the server says
 * Next    etcd_watch.c */
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include "greeter.ensign.h"
#include <stdio.h>
#include <string.h>

static int fail(const ensign_error_t *why)
{
    fprintf(stderr, "greeter: %s\n", why->text);
    return 1;
}

int main(int argc, char **argv)
{
    helloworld_HelloRequest request = helloworld_HelloRequest_init_zero;
    helloworld_HelloReply reply = helloworld_HelloReply_init_zero;
    ensign_call_desc_t options = { 0 };
    ensign_desc_t desc = { 0 };
    const ensign_notice_t *n;
    ensign_error_t why;
    ensign_call_t call;
    ensign_t *c;

    if (argc != 2 || strlen(argv[1]) >= sizeof request.name) {
        fprintf(stderr, "usage: greeter NAME, of %d bytes at most\n", (int)sizeof request.name - 1);
        return 2;
    }
    strcpy(request.name, argv[1]);
    if (ensign_desc_env(&desc, &why) != ENSIGN_OK) return fail(&why);
    if (ensign_create(&desc, &c, &why) != ENSIGN_OK) return fail(&why);
    options.deadline_ms = 10000;
    options.wait_for_ready = true; /* the server may still be starting */
    options.no_token = true;       /* it wants no key of Ensign's */
    call = helloworld_Greeter_SayHello_open(c, &request, &options);
    if (ensign_await(c, call.id, -1, &n) != ENSIGN_OK) return fail(ensign_error(c));
    if (helloworld_Greeter_SayHello_read(c, n, &reply) != ENSIGN_OK) return fail(ensign_error(c));
    puts(reply.message);
    ensign_destroy(c);
    return 0;
}
