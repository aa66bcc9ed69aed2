/* schema.h - the types of a server's messages: from descriptors; between JSON and bytes; as text
 *
 * What is asked of libprotobuf stands behind this header, in schema.cc, the one C++ file of this program.
 * Descriptors, messages and JSON may come from anybody: what is wrong with them is an error with a text, and
 * never ends the program.
 *
 * A function that returns bool has failed where it returns false, and schema_error tells why. A slice that is
 * given out stands until the next call with the same schema. Names of types are full names without a dot in
 * front: "grpc.health.v1.HealthCheckRequest". */
#ifndef ENSIGN_CLI_SCHEMA_H
#define ENSIGN_CLI_SCHEMA_H
#include "../../ensign.h"
#ifdef __cplusplus
extern "C" {
#endif

typedef struct schema_t schema_t;

schema_t   *schema_new(void);                           /* NULL: no memory */
void        schema_free(schema_t *s);
const char *schema_error(const schema_t *s);            /* one line; stands until the next call */

/* ---- descriptors: files are added in any order, then linked
 *
 * The files of google/protobuf/ are libprotobuf's own, whoever sends others under these names; their types
 * are there without a file. */

bool schema_add_set(schema_t *s, ensign_slice_t set);   /* an encoded FileDescriptorSet */
bool schema_add_file(schema_t *s, ensign_slice_t file); /* an encoded FileDescriptorProto */
/* The name of a file that some file imports and that is not here; each one is told once. NULL: no more. */
const char *schema_import(schema_t *s);
/* Makes types of what was added. Where it fails, the files that are right are there all the same. */
bool schema_link(schema_t *s);

/* ---- server reflection: its messages */

typedef enum { ASK_FILE, ASK_SYMBOL, ASK_SERVICES } ask_t;
typedef enum {
    ANSWER_FILES,               /* were added; link them */
    ANSWER_SERVICES,            /* their names are schema_service's now */
    ANSWER_ERROR,               /* *code has a gRPC status, schema_error the server's words */
    ANSWER_WRONG                /* it is no answer, or its files cannot be added: schema_error */
} answer_t;

ensign_slice_t schema_question(schema_t *s, ask_t what, const char *name);
answer_t       schema_answer(schema_t *s, ensign_slice_t answer, int *code);

/* ---- names */

typedef struct schema_method_t {
    const char *path;           /* "/package.Service/Method" */
    const char *input, *output; /* types */
    bool        client_streams, server_streams;
} schema_method_t;              /* its strings live as long as the schema */

bool        schema_has(const schema_t *s, const char *name);
const char *schema_service(const schema_t *s, size_t i);        /* of the linked files, or as the server tells
                                                                   them; NULL: no more */
/* The i-th method of a service; false without an error: no more. */
bool        schema_method_at(schema_t *s, const char *service, size_t i, schema_method_t *out);
bool        schema_method(schema_t *s, const char *service, const char *name, schema_method_t *out);
/* What a .proto file says of a service, method, message, field, enum, value or extension. */
bool        schema_describe(schema_t *s, const char *name, ensign_slice_t *text);
/* A message with all of its fields, as JSON; of a oneof the first field. */
bool        schema_template(schema_t *s, const char *type, bool pretty, ensign_slice_t *json);

/* ---- JSON, by the rules of Protocol Buffers' own mapping */

enum {
    SCHEMA_IGNORE_UNKNOWN = 1,  /* from JSON: fields that the type lacks are passed over */
    SCHEMA_DEFAULTS = 2,        /* to JSON: fields that have their default value are there, too */
    SCHEMA_PRETTY = 4           /* to JSON: indented */
};

/* json is one JSON value (text_json tells). The error names the field by its path: list[1].name. What the
 * mapping does not allow is refused, also where libprotobuf would take it, and so is a key that an object has
 * twice. */
bool schema_from_json(schema_t *s, const char *type, ensign_slice_t json, int flags, ensign_slice_t *message);
bool schema_to_json(schema_t *s, const char *type, ensign_slice_t message, int flags, ensign_slice_t *json);
/* A type of an Any that the last one of the two lacked. NULL: it failed for another reason, or lacks no type
 * any more. Add the files of the type, or give it up: the value of such an Any becomes "@value", in base64.
 * Then the next type is told, and after the last one try again. schema_give_up(s, NULL) gives up all types
 * that are not here. */
const char *schema_lacks(schema_t *s);
void        schema_give_up(schema_t *s, const char *type);

/* The i-th detail of an encoded google.rpc.Status as JSON; the usual types of google.rpc are known. *type
 * has its type URL. False with an empty schema_error: there are no more. */
bool schema_detail(schema_t *s, ensign_slice_t status, size_t i, int flags, const char **type,
                   ensign_slice_t *json);

#ifdef __cplusplus
}
#endif
#endif
