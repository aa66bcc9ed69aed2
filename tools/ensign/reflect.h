/* reflect.h - a server's types, from the server itself: gRPC's server reflection, v1 or else v1alpha
 *
 * The stream is opened by the first question, on the connection of the session, and stays open for the next
 * ones until reflect_rest. */
#ifndef ENSIGN_CLI_REFLECT_H
#define ENSIGN_CLI_REFLECT_H
#include "call.h"
#include "schema.h"

typedef struct reflect_t {
    call_t     *c;              /* whose session, metadata and limits are used */
    schema_t   *schema;         /* gets the files */
    ensign_call_t k;            /* id 0: no stream is open */
    int         version;        /* 0: v1; 1: v1alpha */
    bool        answered;       /* the server has this version */
} reflect_t;

typedef enum {
    REFLECT_DONE,
    REFLECT_ABSENT,             /* the server knows no such name: schema_error has its words */
    REFLECT_FAILED              /* said; the session has the status */
} reflected_t;

/* The file of a service, method, message or enum, and all that it imports, become types of the schema. */
reflected_t reflect_symbol(reflect_t *r, const char *name);
reflected_t reflect_services(reflect_t *r);             /* schema_service has the names */
void        reflect_rest(reflect_t *r);                 /* no questions for now: the stream may end */
#endif
