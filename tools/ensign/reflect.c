/* reflect.c - see reflect.h */
#include "reflect.h"
#include <string.h>

#define ANSWER_MS 30000u        /* of the whole stream, where no --deadline is shorter */

static const char *const versions[] = {
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
};

static reflected_t failed(const reflect_t *r, const char *what, const char *why)
{
    complain("%s%s%s", what, why[0] != '\0' ? ": " : "", why);
    session_fail(&r->c->s, EXIT_FAILED);
    return REFLECT_FAILED;
}

static bool open_stream(reflect_t *r)
{
    ensign_call_desc_t d;

    call_fill(r->c, versions[r->version], &d);
    if (d.deadline_ms > ANSWER_MS) d.deadline_ms = ANSWER_MS;
    if (d.max_message_bytes < MESSAGE_MAX) /* a small --max-message is for the call's own messages */
        d.max_message_bytes = d.max_send_bytes = MESSAGE_MAX;
    d.compress = false; /* --gzip is for the call: a server may lack it, and the questions are short */
    r->k = ensign_call_open(r->c->s.c, &d);
    if (r->k.id != 0) return true;
    session_error(&r->c->s, NULL, ensign_error(r->c->s.c));
    return false;
}

void reflect_rest(reflect_t *r)
{
    if (r->k.id != 0) ensign_call_half_close(r->c->s.c, r->k);
    r->k.id = 0;
}

/* The stream's next message, or its end. NULL: nothing comes any more, and the status is set. */
static const ensign_notice_t *wait_notice(reflect_t *r)
{
    const ensign_notice_t *n;

    do n = session_next(&r->c->s, r->k.id);
    while (n && n->type != ENSIGN_NOTICE_MESSAGE && n->type != ENSIGN_NOTICE_END);
    return n;
}

/* The stream has ended without an answer. True: the question goes to the other version. */
static bool other_version(reflect_t *r, const ensign_notice_t *end)
{
    bool lacks = end->as.end.status == ENSIGN_GRPC_UNIMPLEMENTED && !r->answered;

    r->k.id = 0;
    if (lacks && r->version == 0) {
        r->version = 1;
        return true;
    }
    if (!end->error) {
        failed(r, "the server ends server reflection without an answer", "");
    } else {
        if (lacks) session_fail(&r->c->s, EXIT_FAILED); /* that says nothing of the method */
        session_error(&r->c->s, "server reflection", end->error);
        if (lacks)
            complain("this server does not tell its types; name its .proto files by --proto FILE -I DIR, or "
                     "give --protoset FILE, or messages as bytes with --hex");
    }
    return false;
}

static reflected_t ask(reflect_t *r, ask_t what, const char *name)
{
    int code, rc;
    const ensign_notice_t *n;

    for (;;) {
        if (r->k.id == 0 && !open_stream(r)) return REFLECT_FAILED;
        rc = ensign_call_send(r->c->s.c, r->k, schema_question(r->schema, what, name), 0);
        if (rc < 0) {
            session_error(&r->c->s, "server reflection", ensign_error(r->c->s.c));
            return REFLECT_FAILED;
        }
        n = wait_notice(r);
        if (!n) return REFLECT_FAILED;
        if (n->type == ENSIGN_NOTICE_MESSAGE) break;
        if (!other_version(r, n)) return REFLECT_FAILED;
    }
    r->answered = true;
    switch (schema_answer(r->schema, n->as.message.bytes, &code)) {
    case ANSWER_FILES:
        if (what != ASK_SERVICES) return REFLECT_DONE;
        return failed(r, "server reflection", "the server answers with files, and not with its services");
    case ANSWER_SERVICES:
        if (what == ASK_SERVICES) return REFLECT_DONE;
        return failed(r, "server reflection", "the server answers with its services, and not with files");
    case ANSWER_ERROR:
        if (code == ENSIGN_GRPC_NOT_FOUND) return REFLECT_ABSENT;
        break;
    case ANSWER_WRONG: break;
    }
    return failed(r, "server reflection", schema_error(r->schema));
}

reflected_t reflect_services(reflect_t *r)
{
    return ask(r, ASK_SERVICES, "");
}

/* An import that the server does not know is left out: to link then tells which file needs it. */
reflected_t reflect_symbol(reflect_t *r, const char *name)
{
    reflected_t got = ask(r, ASK_SYMBOL, name);
    const char *import;

    while (got == REFLECT_DONE && (import = schema_import(r->schema)) != NULL)
        if (ask(r, ASK_FILE, import) == REFLECT_FAILED) got = REFLECT_FAILED;
    if (got != REFLECT_DONE) return got;
    if (schema_link(r->schema) || schema_has(r->schema, name)) return REFLECT_DONE;
    return failed(r, "the server's types cannot be used", schema_error(r->schema));
}
