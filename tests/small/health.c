/* health.c - the client of gRPC alone that `make small` measures: asks a server whether it is healthy
 * Run     ENSIGN_ENDPOINT: health
 * Prints  "SERVING", and exit 0, when the server says so */
#define ENSIGN_NO_SERVICE
#include "small.h"

int main(void)
{
    static ensign_desc_t d;
    static ensign_call_desc_t call;
    const ensign_notice_t *n;
    ensign_error_t why;
    ensign_call_t k;
    ensign_t *c;

    from_environment(&d);
    call.method = "/grpc.health.v1.Health/Check"; /* the question has no field that is set: no bytes */
    call.unary = true;
    call.deadline_ms = 10000;
    if (ensign_create(&d, &c, &why) != ENSIGN_OK) return fail(&why);
    k = ensign_call_open(c, &call);
    if (ensign_await(c, k.id, -1, &n) != ENSIGN_OK) return fail(ensign_error(c));
    if (n->error) return fail(n->error);
    /* status, field 1, is SERVING, 1 */
    if (n->as.reply.message.len != 2 || memcmp(n->as.reply.message.ptr, "\x08\x01", 2) != 0)
        return say(STDERR_FILENO, "not SERVING"), 1;
    say(STDOUT_FILENO, "SERVING");
    ensign_destroy(c);
    return 0;
}
