/* grpc_unary.c - ask any gRPC server whether it is healthy, with messages of your own
 * Shows   a unary call to any service, with nanopb messages of the program's own; deadline, status, metadata
 * Run     build/examples/grpc_unary      (ENSIGN_ENDPOINT says which server; a service may follow)
 *         Messages: nanopb_generator.py -I examples -D build/gen/examples health.proto (as the Makefile does)
 * Prints  SERVING, or what else the server says; exit 0 when it is SERVING
 * Next    grpc_stream.c */
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include "health.pb.h"
#include <pb_decode.h>
#include <pb_encode.h>
#include <stdio.h>
#include <string.h>

static int fail(const char *what, const char *text)
{
    fprintf(stderr, "grpc_unary: %s: %s\n", what, text);
    return 1;
}

static const char *status_name(int status)
{
    switch (status) {
    case grpc_health_v1_HealthCheckResponse_ServingStatus_SERVING: return "SERVING";
    case grpc_health_v1_HealthCheckResponse_ServingStatus_NOT_SERVING: return "NOT_SERVING";
    case grpc_health_v1_HealthCheckResponse_ServingStatus_SERVICE_UNKNOWN: return "SERVICE_UNKNOWN";
    default: return "UNKNOWN";
    }
}

/* Encodes the question and opens the call; the client copies what we hand it. */
static ensign_call_t ask(ensign_t *c, const char *service)
{
    grpc_health_v1_HealthCheckRequest question = grpc_health_v1_HealthCheckRequest_init_zero;
    uint8_t bytes[grpc_health_v1_HealthCheckRequest_size];
    pb_ostream_t out = pb_ostream_from_buffer(bytes, sizeof bytes);
    ensign_call_desc_t d;
    ensign_call_t none = { 0 };

    memset(&d, 0, sizeof d);
    if (strlen(service) >= sizeof question.service) return fail("service", "the name is too long"), none;
    strcpy(question.service, service);
    if (!pb_encode(&out, grpc_health_v1_HealthCheckRequest_fields, &question)) {
        return fail("encode", PB_GET_ERROR(&out)), none;
    }
    d.method = "/grpc.health.v1.Health/Check";
    d.request.ptr = bytes;
    d.request.len = out.bytes_written;
    d.unary = true;
    d.no_token = true;       /* health is asked without a key */
    d.wait_for_ready = true; /* the server may still be starting: try until the deadline */
    d.deadline_ms = 10000;
    return ensign_call_open(c, &d);
}

/* The answer. -1: it cannot be read. */
static int status_of(ensign_slice_t message)
{
    grpc_health_v1_HealthCheckResponse answer = grpc_health_v1_HealthCheckResponse_init_zero;
    pb_istream_t in = pb_istream_from_buffer(message.ptr, message.len);

    if (!pb_decode(&in, grpc_health_v1_HealthCheckResponse_fields, &answer)) {
        fail("decode", PB_GET_ERROR(&in));
        return -1;
    }
    return (int)answer.status;
}

int main(int argc, char **argv)
{
    static ensign_desc_t d; /* zeroed: every field has its default */
    static ensign_t *c;
    const ensign_notice_t *n;
    ensign_error_t why;
    ensign_slice_t type;
    ensign_call_t k;
    int status = -1;

    if (argc > 2) return fprintf(stderr, "usage: grpc_unary [SERVICE]\n"), 2;
    if (ensign_desc_env(&d, &why) != ENSIGN_OK) return fail("environment", why.text);
    if (ensign_create(&d, &c, &why) != ENSIGN_OK) return fail("create", why.text);
    k = ask(c, argc == 2 ? argv[1] : "");
    if (k.id == 0) return fail("call", ensign_error(c)->text);
    if (ensign_await(c, k.id, -1, &n) != ENSIGN_OK) return fail("await", ensign_error(c)->text);
    if (ensign_call_metadata_get(c, k, ENSIGN_HEADERS, "content-type", &type))
        fprintf(stderr, "grpc_unary: answered as %.*s\n", (int)type.len, (const char *)type.ptr);
    if (n->error) fail("call", n->error->text); /* the deadline, a status, a lost connection: one notice */
    else status = status_of(n->as.reply.message);
    if (status >= 0) printf("%s\n", status_name(status));
    ensign_destroy(c);
    return status == grpc_health_v1_HealthCheckResponse_ServingStatus_SERVING ? 0 : 1;
}
