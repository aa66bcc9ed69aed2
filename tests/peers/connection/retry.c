/* retry.c - a server that fails the first two attempts of each call, and calls with three
 *
 *   retry LABEL
 *
 * ENSIGN_ENDPOINT names the server, grpcgo -fail 2. It knows a call by its header x-call, counts its
 * attempts, and ends it for good if grpc-previous-rpc-attempts is another number. Calls without x-call always
 * succeed. A call that fails twice takes two of the client's tokens, and 20 that succeed bring them back: so
 * many go before each. Then come the same calls without them.
 */
#include "ensign.h"

#include "run.h"

enum { CALLS = 100, BEFORE = 20, WAIT_MS = 20000, ALL = 3 };

typedef enum { UNARY, SERVER_STREAMING, CLIENT_STREAMING, BIDI, KINDS } kind_t;

typedef struct outcome_t {
    int status;
    unsigned attempts, messages;
    bool wrong;                 /* a message is not the one that was to come */
} outcome_t;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "retry: %s: %s\n", what, why);
    exit(2);
}

static const ensign_notice_t *await(ensign_t *c, uint32_t handle)
{
    const ensign_notice_t *n;

    if (ensign_await(c, handle, WAIT_MS, &n) != ENSIGN_OK) fail("await", ensign_error(c)->text);
    return n;
}

static bool is(ensign_slice_t bytes, const char *text)
{
    return bytes.len == strlen(text) && memcmp(bytes.ptr, text, bytes.len) == 0;
}

/* The answer to a call of this kind: its messages, or all of them in one. */
static bool is_answer(kind_t kind, unsigned number, ensign_slice_t bytes)
{
    static const char *const each[] = { "one", "two" };

    if (kind == CLIENT_STREAMING) return number == 0 && is(bytes, "onetwo");
    return number < (kind == BIDI ? 2u : 1u) && is(bytes, each[number]);
}

static ensign_call_t open_one(ensign_t *c, kind_t kind, const char *name)
{
    ensign_header_t x_call = { "x-call", ensign_str(name) };
    ensign_call_desc_t d = { .method = kind == CLIENT_STREAMING ? "/test.Service/Join" : "/test.Service/Echo",
                             .unary = kind == UNARY, .request = ensign_str("one") };
    ensign_call_t k;

    if (name) {
        d.metadata = &x_call;
        d.metadata_count = 1;
        d.retry.max_attempts = ALL;
        d.retry.backoff_min_ms = 5;
    }
    k = ensign_call_open(c, &d);
    if (k.id == 0) fail("open", ensign_error(c)->text);
    if (kind == UNARY) return k;
    if (kind != SERVER_STREAMING && ensign_call_send(c, k, ensign_str("two"), 0) != ENSIGN_OK)
        fail("send", ensign_error(c)->text);
    if (ensign_call_half_close(c, k) != ENSIGN_OK) fail("half-close", ensign_error(c)->text);
    return k;
}

static outcome_t end_of(ensign_t *c, kind_t kind, ensign_call_t k)
{
    outcome_t o = { 0 };
    const ensign_notice_t *n;

    do {
        n = await(c, k.id);
        if (n->type == ENSIGN_NOTICE_MESSAGE && !is_answer(kind, o.messages++, n->as.message.bytes))
            o.wrong = true;
    } while (!n->last);
    if (n->type == ENSIGN_NOTICE_REPLY) {
        o.status = n->as.reply.status;
        o.attempts = n->as.reply.attempts;
        o.wrong = o.status == ENSIGN_GRPC_OK && !is(n->as.reply.message, "one");
    } else {
        o.status = n->as.end.status;
        o.attempts = n->as.end.attempts;
        o.wrong = o.wrong || (o.status == ENSIGN_GRPC_OK && o.messages != (kind == BIDI ? 2u : 1u));
    }
    if (o.status != ENSIGN_GRPC_OK && o.status != ENSIGN_GRPC_UNAVAILABLE) note("a call ended: %s", words(n));
    return o;
}

/* So many calls that succeed; beside each other. */
static void succeed(ensign_t *c)
{
    ensign_call_t k[BEFORE];

    for (unsigned i = 0; i < BEFORE; i++) k[i] = open_one(c, UNARY, NULL);
    for (unsigned i = 0; i < BEFORE; i++)
        if (end_of(c, UNARY, k[i]).status != ENSIGN_GRPC_OK) fail("a call that should succeed", "it fails");
}

static void tell_third(ensign_t *c)
{
    unsigned ok[KINDS] = { 0 }, third = 0;
    char name[32];

    for (unsigned i = 0; i < CALLS; i++) {
        kind_t kind = (kind_t)(i % KINDS);
        outcome_t o;
        succeed(c);
        snprintf(name, sizeof name, "third-%u", i);
        o = end_of(c, kind, open_one(c, kind, name));
        ok[kind] += o.status == ENSIGN_GRPC_OK && !o.wrong;
        third += o.attempts == ALL;
    }
    note("OK: %u unary, %u server streaming, %u client streaming, %u bidi", ok[UNARY], ok[SERVER_STREAMING],
         ok[CLIENT_STREAMING], ok[BIDI]);
    result(ok[UNARY] + ok[SERVER_STREAMING] + ok[CLIENT_STREAMING] + ok[BIDI] == CALLS,
           "%d of %d calls are OK", CALLS, CALLS);
    result(third == CALLS, "each of them at its third attempt");
}

/* Of 10 tokens the third call takes the one that leaves no more than half. */
static void tell_bucket(ensign_t *c)
{
    unsigned ok = 0, attempts = 0;
    char name[32];

    for (unsigned i = 0; i < CALLS; i++) {
        outcome_t o;
        snprintf(name, sizeof name, "bucket-%u", i);
        o = end_of(c, UNARY, open_one(c, UNARY, name));
        ok += o.status == ENSIGN_GRPC_OK;
        attempts += o.attempts;
    }
    note("%u calls have %u attempts, %u are OK", (unsigned)CALLS, attempts, ok);
    result(ok == 2 && attempts == CALLS + 5, "a server that only fails is spared further attempts");
}

int main(int argc, char **argv)
{
    ensign_desc_t d = { 0 };
    ensign_t *c;

    run_start(argc, argv, 2, "retry LABEL");
    c = run_client(&d);
    tell_third(c);
    ensign_destroy(c);
    c = run_client(&d);
    tell_bucket(c);
    ensign_destroy(c);
    return run_failures > 0;
}
