/* bare.h - a client whose streams have no wire: what a server would do is done to the call's own fields; for
 * pub.c, sub.c, req.c and topic.c */
#ifndef BARE_H
#define BARE_H

#include "plain.h"

static UNUSED ensign_t *client;
static UNUSED uint64_t seed;
static bool no_memory;

static UNUSED uint32_t below(uint32_t n)
{
    return (uint32_t)(ensi_rng_next(&seed) % n);
}

/* realloc, but while `no_memory` it has none. */
static void *hook(void *user, void *old, size_t size)
{
    (void)user;
    if (size == 0) {
        free(old);
        return NULL;
    }
    return no_memory ? NULL : realloc(old, size);
}

static UNUSED ensign_desc_t bare_desc(void)
{
    ensign_desc_t d = plain_desc();
    d.name = "me";
    d.seed = 5;
    d.alloc = hook;
    return d;
}

static UNUSED int bare_setup(const ensign_desc_t *d)
{
    ensign_error_t why;
    seed = 1;
    no_memory = false;
    return ensign_create(d, &client, &why) == ENSIGN_OK ? 0 : -1;
}

static UNUSED int bare_teardown(void **state)
{
    (void)state;
    no_memory = false;
    ensign_destroy(client);
    client = NULL;
    return 0;
}

/* With the `setup` of the file that includes this one. */
#define BARE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, bare_teardown)

/* The queued call goes out. */
static UNUSED void bare_submit(ensi_call_t *call)
{
    assert_int_equal(call->state, ENSI_GRPC_QUEUED);
    ensi_grpc_dequeue(call);
    assert_true(ensi_grpc_move(call, ENSI_GRPC_ON_SUBMIT));
}

/* What the call sends now, up to cap bytes; out NULL: the bytes do not matter. */
static UNUSED size_t bare_take(ensi_call_t *call, uint8_t *out, size_t cap)
{
    static uint8_t ignored[8192];
    size_t n = 0, got;
    bool eof;
    do {
        size_t most = out ? cap - n : ensi_min(sizeof ignored, cap - n);
        got = most ? ensi_grpc_on_read(&call->s, out ? out + n : ignored, most, &eof) : 0;
        n += got;
    } while (got > 0);
    return n;
}

static UNUSED void bare_store(ensi_call_t *call, const uint8_t *bytes, size_t len)
{
    if (len) assert_true(ensi_rx_store(&call->s.rx, &client->env.mem, bytes, len));
    call->s.moved = true;
}

/* A message of so many bytes begins. */
static UNUSED void bare_prefix(ensi_call_t *call, size_t len)
{
    uint8_t prefix[ENSI_GRPC_PREFIX];
    ensi_grpc_prefix(prefix, len, false);
    bare_store(call, prefix, sizeof prefix);
}

static UNUSED void bare_message(ensi_call_t *call, const uint8_t *bytes, size_t len)
{
    bare_prefix(call, len);
    bare_store(call, bytes, len);
}

/* The server ends the call with this status. */
static UNUSED void bare_end(ensi_call_t *call, int status)
{
    call->grpc_status = status;
    call->http_status = 200;
    call->grpc_content = true;
    call->s.ended = true;
    ensi_grpc_judge(call);
}

/* The connection is lost. */
static UNUSED void bare_cut(ensi_call_t *call)
{
    ensign_error_t why;
    ensi_fail(&why, ENSIGN_E_CLOSED, 0, "cut");
    call->s.lost = true;
    if (call->state == ENSI_GRPC_OPEN) ensi_grpc_lost(call, &why);
}

static UNUSED void bare_pass(ensi_handle_t *h, uint32_t ms)
{
    ensi_client_tick_handle(client, h);
    client->env.now_ms += ms;
    ensi_client_tick_handle(client, h);
}

#endif
