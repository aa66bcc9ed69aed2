/* reply.c - see reply.h */
#include "reply.h"

bool decode(call_t *c, msg_kind_t kind, void *message, ensign_slice_t bytes)
{
    if (msg_decode(kind, message, bytes)) return true;
    call_end(c, GRPC_INTERNAL, TEXT_BAD_MESSAGE);
    return false;
}

void reply(call_t *c, msg_kind_t kind, const void *message)
{
    buf_t b = { NULL, 0, 0, 0 };

    if (msg_put(&b, kind, message)) {
        call_send(c, buf_bytes(&b));
        call_end(c, GRPC_OK, NULL);
    } else {
        call_end(c, GRPC_INTERNAL, "the reply could not be encoded");
    }
    buf_free(&b);
}

void wait_half_close(service_t *s, call_t *c)
{
    (void)s;
    if (!c->state) call_end(c, GRPC_INTERNAL, "grpc: the request message is missing");
}

msg_timestamp_t wall_in(int64_t seconds)
{
    msg_timestamp_t t;

    wall_now(&t.seconds, &t.nanos);
    t.seconds += seconds;
    return t;
}
