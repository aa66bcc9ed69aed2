/* fuzz_schema.c - the types of ensign call: descriptors, JSON and messages of anybody (tools/ensign/schema.h)
 *
 * The input is the length of a FileDescriptorSet in two bytes, low one first; the set; JSON up to a NUL; the
 * rest is a message, the details of a status, and an answer of server reflection. */
#include "../../tools/ensign/schema.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ensign_slice_t cut(const uint8_t **p, size_t *left, size_t len)
{
    ensign_slice_t s = { *p, len < *left ? len : *left };

    *p += s.len;
    *left -= s.len;
    return s;
}

/* From JSON, to JSON; an Any of a type that is not there is given up. */
static void convert(schema_t *s, const char *type, ensign_slice_t json, ensign_slice_t message)
{
    ensign_slice_t out;

    if (!schema_from_json(s, type, json, 0, &out) && schema_error(s)[0] == '\0') abort(); /* it says why */
    for (int tries = 0; tries < 4 && !schema_to_json(s, type, message, SCHEMA_DEFAULTS, &out); tries++) {
        if (schema_error(s)[0] == '\0') abort();
        const char *lacks = schema_lacks(s);
        if (!lacks) return;
        for (; lacks; lacks = schema_lacks(s)) schema_give_up(s, tries < 2 ? lacks : NULL);
    }
}

/* Both types of a method, and what is said of them. */
static void use_method(schema_t *s, const schema_method_t *m, ensign_slice_t json, ensign_slice_t message)
{
    ensign_slice_t out;

    convert(s, m->input, json, message);
    convert(s, m->output, json, message);
    (void)schema_describe(s, m->input, &out);
    (void)schema_template(s, m->input, true, &out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ensign_slice_t set, json, message, out;
    schema_method_t m;
    const char *service, *type;
    const uint8_t *end;
    schema_t *s;
    int code;

    if (size < 2) return 0;
    s = schema_new();
    if (!s) return 0;
    size -= 2;
    data += 2;
    set = cut(&data, &size, (size_t)(data[-2] | data[-1] << 8));
    end = size > 0 ? (const uint8_t *)memchr(data, '\0', size) : NULL;
    json = cut(&data, &size, end ? (size_t)(end - data) : size);
    if (size > 0) cut(&data, &size, 1);
    message = cut(&data, &size, size);

    if (schema_add_set(s, set)) {
        while (schema_import(s) != NULL) continue;
        (void)schema_link(s);
    }
    for (size_t i = 0; i < 8 && (service = schema_service(s, i)) != NULL; i++)
        for (size_t k = 0; k < 8 && schema_method_at(s, service, k, &m); k++)
            use_method(s, &m, json, message);
    convert(s, "google.protobuf.Any", json, message);
    for (size_t i = 0; i < 8 && schema_detail(s, message, i, 0, &type, &out); i++) continue;
    (void)schema_answer(s, message, &code);
    schema_free(s);
    return 0;
}
