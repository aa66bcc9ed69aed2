/* call.c - ensign call: any method of any gRPC server; messages are bytes */
#include "input.h"
#include "session.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct message_t { uint8_t *bytes; size_t len; } message_t;

typedef struct call_t {
    session_t s;
    const options_t *o;
    ensign_call_t k;
    ensign_header_t *headers;
    message_t *messages;
    size_t   count, sent;       /* of messages */
    bool     half_closed, ended, canceled;
} call_t;

static const char *status_name(int status)
{
    const char *name = ensign_result_name(ENSIGN_E_GRPC - status);
    return status == 0 ? "OK" : name[0] == '?' ? "?" : name + strlen("ENSIGN_E_");
}

/* ---- what the options say */

static void add_message(call_t *c, uint8_t *bytes, size_t len)
{
    c->messages = x_realloc(c->messages, (c->count + 1) * sizeof *c->messages);
    c->messages[c->count].bytes = x_keep(bytes);
    c->messages[c->count++].len = len;
}

static int read_file(call_t *c, const char *path)
{
    uint8_t *bytes, *decoded;
    size_t len;

    if (!input_whole(path, &bytes, &len)) return EXIT_USAGE;
    if (c->o->in == FORM_HEX) {
        char *hex = x_realloc(bytes, len + 1);
        bool ok = memchr(hex, '\0', len) == NULL;
        hex[len] = '\0';
        ok = ok && text_from_hex(hex, &decoded, &len);
        free(hex);
        if (!ok)
            return options_refuse(c->o, "%s does not hold pairs of hexadecimal digits; --in raw takes bytes",
                                  path);
        bytes = decoded;
    }
    add_message(c, bytes, len);
    return EXIT_DONE;
}

static int read_messages(call_t *c)
{
    const options_t *o = c->o;
    int status = EXIT_DONE;

    for (size_t i = 1; i < o->args.count; i++) {
        uint8_t *bytes;
        size_t len;
        if (!text_from_hex(o->args.at[i], &bytes, &len))
            return options_refuse(
                o, "message \"%s\": give pairs of hexadecimal digits, or --file FILE for bytes",
                o->args.at[i]);
        add_message(c, bytes, len);
    }
    for (size_t i = 0; i < o->files.count && status == EXIT_DONE; i++) status = read_file(c, o->files.at[i]);
    if (status == EXIT_DONE && c->count == 0) status = read_file(c, "-");
    return status;
}

static bool is_binary_key(const char *key)
{
    size_t n = strlen(key);
    return n > 4 && strcmp(key + n - 4, "-bin") == 0;
}

static int read_header(call_t *c, const char *text, ensign_header_t *h)
{
    const char *colon = strchr(text, ':'), *value = colon ? colon + 1 : NULL;
    size_t len = colon ? (size_t)(colon - text) : 0;
    int shown = (int)strcspn(text, " \t=:"); /* a key at most: the rest may be a secret */
    uint8_t *bytes;

    if (len == 0) return options_refuse(c->o, "--header %.*s: give KEY:VALUE", shown, text);
    while (*value == ' ') value++;
    h->key = x_keep_text(text, len);
    h->value = ensign_str(value);
    if (!is_binary_key(h->key)) return EXIT_DONE;
    if (!text_from_hex(value, &bytes, &h->value.len))
        return options_refuse(
            c->o, "--header %s: the value of a key that ends in -bin is pairs of hexadecimal digits", h->key);
    h->value.ptr = x_keep(bytes);
    return EXIT_DONE;
}

static int read_headers(call_t *c)
{
    const list_t *l = &c->o->headers;
    int status = EXIT_DONE;

    c->headers = x_keep(x_realloc(NULL, (l->count + 1) * sizeof *c->headers));
    for (size_t i = 0; i < l->count && status == EXIT_DONE; i++)
        status = read_header(c, l->at[i], &c->headers[i]);
    return status;
}

/* ---- printing */

static void json_metadata(const call_t *c, const char *name, int which)
{
    ensign_slice_t key, value;
    size_t at = 0;

    json_list(name);
    while (ensign_call_metadata_next(c->s.c, c->k, which, &at, &key, &value)) {
        json_object(NULL);
        json_slice("key", key);
        json_data("value", value);
        json_close();
    }
    json_close();
}

static bool is_printable(ensign_slice_t s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < 0x20 || s.ptr[i] > 0x7E) return false;
    return true;
}

static void say_metadata(const call_t *c, const char *name, int which)
{
    ensign_slice_t key, value;
    size_t at = 0;

    while (ensign_call_metadata_next(c->s.c, c->k, which, &at, &key, &value)) {
        if (is_printable(value))
            say("%s: %.*s: %.*s", name, (int)key.len, key.ptr, (int)value.len, value.ptr);
        else say("%s: %.*s: %zu bytes; --json prints them", name, (int)key.len, key.ptr, value.len);
    }
}

static void print_headers(const call_t *c)
{
    if (c->o->json && c->o->verbose > 0) {
        json_object(NULL);
        json_text("kind", "headers");
        json_metadata(c, "headers", ENSIGN_HEADERS);
        json_close();
    } else if (c->o->verbose > 0) {
        say_metadata(c, "header", ENSIGN_HEADERS);
    }
}

static void print_message(const call_t *c, const ensign_notice_message_t *m)
{
    if (c->o->json) {
        json_object(NULL);
        json_text("kind", "message");
        json_data("data", m->bytes);
        json_close();
    } else if (c->o->out == FORM_RAW) {
        out_raw(m->bytes);
    } else {
        out_hex(m->bytes);
        out_text("\n");
    }
}

static void print_end(call_t *c, const ensign_notice_t *n)
{
    const ensign_notice_end_t *e = &n->as.end;

    if (c->o->json) {
        json_object(NULL);
        json_text("kind", "end");
        json_int("status", e->status);
        json_text("status_name", status_name(e->status));
        json_slice("text", e->text);
        if (e->details.len > 0) json_data("details", e->details);
        if (e->attempts > 1) json_int("attempts", e->attempts);
        if (n->error) json_text("error", n->error->text);
        if (e->metadata_cut) json_bool("metadata_cut", true);
        if (c->o->verbose > 0) json_metadata(c, "trailers", ENSIGN_TRAILERS);
        json_close();
    } else if (c->o->verbose > 0) {
        say_metadata(c, "trailer", ENSIGN_TRAILERS);
        if (e->metadata_cut) say("metadata over 8 KiB was cut");
        say("status %d %s", e->status, status_name(e->status));
        if (e->attempts > 1) say("attempts: %u", (unsigned)e->attempts);
    }
    if (n->error && !c->canceled) session_error(&c->s, NULL, n->error);
    c->ended = true;
}

/* ---- the call */

static void send_some(call_t *c)
{
    while (c->sent < c->count) {
        ensign_slice_t m = { c->messages[c->sent].bytes, c->messages[c->sent].len };
        int rc = ensign_call_send(c->s.c, c->k, m, 0);
        if (rc > 0) return; /* AGAIN: until ROOM; ENDED: END is next */
        if (rc < 0) {
            session_error(&c->s, NULL, ensign_error(c->s.c));
            c->canceled = true;
            ensign_cancel(c->s.c, c->k.id);
            return;
        }
        c->sent++;
    }
    if (!c->half_closed) c->half_closed = ensign_call_half_close(c->s.c, c->k) == ENSIGN_OK;
}

static void take(call_t *c)
{
    const ensign_notice_t *n;

    while ((n = session_pull(&c->s)) != NULL) {
        if (n->handle != c->k.id) continue;
        if (n->type == ENSIGN_NOTICE_HEADERS) print_headers(c);
        if (n->type == ENSIGN_NOTICE_MESSAGE) print_message(c, &n->as.message);
        if (n->type == ENSIGN_NOTICE_END) print_end(c, n);
    }
}

static void loop(call_t *c)
{
    while (!c->ended) {
        woke_t woke;
        if (!c->half_closed && !c->canceled) send_some(c);
        woke = session_wait(&c->s, -1, -1);
        if (woke == WOKE_STOP) {
            c->canceled = true;
            ensign_cancel(c->s.c, c->k.id);
        }
        take(c);
        if (woke == WOKE_OVER) return;
    }
}

static bool open_call(call_t *c)
{
    const options_t *o = c->o;
    ensign_call_desc_t d;

    if (!session_open(&c->s, o, false)) return false;
    memset(&d, 0, sizeof d);
    d.method = o->args.at[0];
    d.metadata = c->headers;
    d.metadata_count = o->headers.count;
    d.no_token = o->no_token;
    d.deadline_ms = o->deadline_ms > 0 ? (uint32_t)o->deadline_ms : ENSIGN_FOREVER;
    d.wait_for_ready = o->retry_ms > 0;
    d.retry.max_attempts = (uint32_t)o->attempts;
    c->s.tells_waits = true;
    c->k = ensign_call_open(c->s.c, &d);
    if (c->k.id != 0) return true;
    session_error(&c->s, NULL, ensign_error(c->s.c));
    return false;
}

int run_call(const options_t *o)
{
    static call_t c;
    int status;

    c.o = o;
    if (o->json && o->out != FORM_DEFAULT)
        return options_refuse(o, "--json and --out are two ways to print; use one of them");
    status = read_headers(&c);
    if (status == EXIT_DONE) status = read_messages(&c);
    if (status == EXIT_DONE) {
        if (open_call(&c)) loop(&c);
        status = session_end(&c.s);
    }
    free(c.messages);
    return status;
}
