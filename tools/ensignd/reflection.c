/* reflection.c - gRPC's server reflection: any number of questions on one stream, an answer to each
 *
 * v1 and v1alpha differ in the package alone, so one codec serves both. A file comes with all that it
 * imports; what this stream was sent already is left out, but for the file that was asked for. */
#include "descriptors.h"
#include "messages.h"
#include "service.h"
#include "../common/utf8.h"
#include <stdlib.h>
#include <string.h>

#define REQUEST_MAX 65536       /* bytes: each answer repeats its request */
#define ANSWERS_MAX 64          /* unread ones: then nothing more is taken from this client */

/* Numbers of fields. */
enum {
    REQUEST_HOST = 1, REQUEST_FILE = 3, REQUEST_SYMBOL = 4, REQUEST_EXTENSION = 5, REQUEST_EXTENSIONS_OF = 6,
    REQUEST_SERVICES = 7
};
enum {
    ANSWER_HOST = 1, ANSWER_REQUEST = 2, ANSWER_FILES = 4, ANSWER_EXTENSIONS = 5, ANSWER_SERVICES = 6,
    ANSWER_ERROR = 7
};
enum { FIRST_FIELD = 1, ERROR_TEXT = 2 };       /* of the message inside an answer */
enum { EXTENSION_TYPE = 1 };                    /* of ExtensionRequest */
enum { DESCRIPTOR_IMPORT = 3 };                 /* of FileDescriptorProto */

typedef struct question_t {
    uint32_t kind;              /* one of REQUEST_x; 0: none was asked */
    ensign_slice_t host, text;
} question_t;

/* ---- what is described */

static size_t find_file(ensign_slice_t name)
{
    size_t i = 0;

    while (i < described_file_count && !slice_is(name, described_files[i].name)) i++;
    return i;
}

static int order_of_symbol(const void *name, const void *symbol)
{
    return slice_order(*(const ensign_slice_t *)name, slice_text(((const described_symbol_t *)symbol)->name));
}

static const described_symbol_t *find_symbol(ensign_slice_t name)
{
    return bsearch(&name, described_symbols, described_symbol_count, sizeof *described_symbols,
                   order_of_symbol);
}

/* ---- answers: the message inside one, by its number in the answer */

static uint32_t answer_error(buf_t *out, const char *what, ensign_slice_t name)
{
    static const uint8_t code[] = { FIRST_FIELD << 3, GRPC_NOT_FOUND };
    buf_t text = { NULL, 0, 0, 0 };

    buf_put(&text, "there is no ", 12);
    buf_put(&text, what, strlen(what));
    buf_put(&text, " \"", 2);
    buf_put(&text, name.ptr, name.len);
    buf_put(&text, "\"", 1);
    buf_put(out, code, sizeof code);
    msg_put_field(out, ERROR_TEXT, buf_bytes(&text));
    buf_free(&text);
    return ANSWER_ERROR;
}

static void put_file(buf_t *out, bool *sent, size_t file)
{
    const described_file_t *f = &described_files[file];
    ensign_slice_t bytes = slice_of(f->bytes, f->len), import;
    size_t at = 0;

    sent[file] = true;
    msg_put_field(out, FIRST_FIELD, bytes);
    while (msg_next(bytes, DESCRIPTOR_IMPORT, &at, &import)) {
        size_t next = find_file(import);
        if (next < described_file_count && !sent[next]) put_file(out, sent, next);
    }
}

static uint32_t answer_file(buf_t *out, bool *sent, ensign_slice_t name)
{
    size_t file = find_file(name);

    if (file == described_file_count) return answer_error(out, "file", name);
    put_file(out, sent, file);
    return ANSWER_FILES;
}

static uint32_t answer_symbol(buf_t *out, bool *sent, ensign_slice_t name)
{
    const described_symbol_t *symbol = find_symbol(name);

    if (!symbol) return answer_error(out, "symbol", name);
    put_file(out, sent, symbol->file);
    return ANSWER_FILES;
}

/* No file extends a message; a name that is no message's is told all the same. */
static uint32_t answer_extensions_of(buf_t *out, ensign_slice_t name)
{
    const described_symbol_t *symbol = find_symbol(name);

    if (!symbol || symbol->kind != SYMBOL_MESSAGE) return answer_error(out, "message", name);
    msg_put_field(out, FIRST_FIELD, name);
    return ANSWER_EXTENSIONS;
}

static uint32_t answer_services(buf_t *out)
{
    buf_t service = { NULL, 0, 0, 0 };

    for (size_t i = 0; i < described_symbol_count; i++) {
        if (described_symbols[i].kind != SYMBOL_SERVICE) continue;
        buf_take(&service, buf_len(&service));
        msg_put_field(&service, FIRST_FIELD, slice_text(described_symbols[i].name));
        msg_put_field(out, FIRST_FIELD, buf_bytes(&service));
    }
    buf_free(&service);
    return ANSWER_SERVICES;
}

/* 0: no question. */
static uint32_t answer(buf_t *out, bool *sent, const question_t *q)
{
    switch (q->kind) {
    case REQUEST_FILE: return answer_file(out, sent, q->text);
    case REQUEST_SYMBOL: return answer_symbol(out, sent, q->text);
    case REQUEST_EXTENSION: return answer_error(out, "extension of", q->text);
    case REQUEST_EXTENSIONS_OF: return answer_extensions_of(out, q->text);
    case REQUEST_SERVICES: return answer_services(out);
    default: return 0;
    }
}

/* ---- the stream */

/* Of a field that comes twice, and of a oneof, the last one counts. One of another wire type is unknown. */
static bool read_extension(ensign_slice_t message, ensign_slice_t *type)
{
    const uint8_t *at = message.ptr, *end = at + message.len;
    msg_item_t item;

    *type = slice_of(NULL, 0);
    while (at < end) {
        if (!msg_item_next(&at, end, &item)) return false;
        if (item.tag == EXTENSION_TYPE && item.wire == MSG_WIRE_BYTES) *type = item.value;
    }
    return true;
}

static bool read_question(ensign_slice_t message, question_t *q)
{
    const uint8_t *at = message.ptr, *end = at + message.len;
    msg_item_t item;

    memset(q, 0, sizeof *q);
    while (at < end) {
        if (!msg_item_next(&at, end, &item)) return false;
        if (item.wire != MSG_WIRE_BYTES) continue;
        if (item.tag == REQUEST_HOST) q->host = item.value;
        if (item.tag < REQUEST_FILE || item.tag > REQUEST_SERVICES) continue;
        q->kind = item.tag;
        q->text = item.value;
        if (item.tag == REQUEST_EXTENSION && !read_extension(item.value, &q->text)) return false;
    }
    return utf8_valid(q->host) && utf8_valid(q->text);
}

void reflection_open(service_t *s, call_t *c)
{
    (void)s;
    c->in_max = REQUEST_MAX;
    c->out_max = ANSWERS_MAX;
    c->state = x_alloc(described_file_count * sizeof(bool));
}

void reflection_message(service_t *s, call_t *c, ensign_slice_t message)
{
    buf_t inside = { NULL, 0, 0, 0 }, whole = { NULL, 0, 0, 0 };
    question_t q;
    uint32_t tag;
    (void)s;

    if (!read_question(message, &q)) {
        call_end(c, GRPC_INTERNAL, TEXT_BAD_MESSAGE);
        return;
    }
    tag = answer(&inside, c->state, &q);
    if (tag == 0) {
        call_end(c, GRPC_INVALID_ARGUMENT, "the request asks for nothing: set one of message_request");
    } else {
        if (q.host.len) msg_put_field(&whole, ANSWER_HOST, q.host);
        msg_put_field(&whole, ANSWER_REQUEST, message);
        msg_put_field(&whole, tag, buf_bytes(&inside));
        call_send(c, buf_bytes(&whole));
    }
    buf_free(&inside);
    buf_free(&whole);
}

void reflection_half_close(service_t *s, call_t *c)
{
    (void)s;
    call_end(c, GRPC_OK, NULL);
}

void reflection_closed(service_t *s, call_t *c)
{
    (void)s;
    free(c->state);
    c->state = NULL;
}
