/* call.c - ensign call: any method of any gRPC server; here messages are bytes. See call.h */
#include "call.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *status_name(int status)
{
    const char *name = ensign_result_name(ENSIGN_E_GRPC - status);
    return status == 0 ? "OK" : name[0] == '?' ? "?" : name + strlen("ENSIGN_E_");
}

/* ---- what the options say */

void call_begin(call_t *c, const options_t *o, const call_form_t *form)
{
    memset(c, 0, sizeof *c);
    c->o = o;
    c->form = form;
    c->whole = form->more == NULL;
}

size_t call_message_max(const options_t *o)
{
    return o->max_message > 0 ? (size_t)o->max_message : MESSAGE_MAX;
}

void call_add(call_t *c, ensign_slice_t message)
{
    uint8_t *copy = x_realloc(NULL, message.len);

    if (message.len > 0) memcpy(copy, message.ptr, message.len);
    c->messages = x_realloc(c->messages, (c->count + 1) * sizeof *c->messages);
    c->messages[c->count].bytes = copy;
    c->messages[c->count++].len = message.len;
}

int call_method(const options_t *o)
{
    const char *method = o->args.count > 0 ? o->args.at[0] : NULL;

    if (!method) return options_refuse(o, "name a method: ensign %s %s", o->command->name, o->command->args);
    if (strchr(method, ':'))
        return options_refuse(o, "%s is not a method; --endpoint (-E) names the server", method);
    if (strcmp(method, "list") == 0 || strcmp(method, "describe") == 0)
        return options_refuse(o, "%s is not a method; --%s is an option here", method, method);
    return EXIT_DONE;
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
    char *key;

    if (len == 0) return options_refuse(c->o, "--header %.*s: give KEY:VALUE", shown, text);
    while (*value == ' ') value++;
    h->key = key = x_keep_text(text, len);
    for (char *p = key; *p != '\0'; p++) *p = (char)tolower((unsigned char)*p); /* as HTTP/2 has names */
    h->value = ensign_str(value);
    if (!is_binary_key(h->key)) return EXIT_DONE;
    if (!text_from_hex(value, &bytes, &h->value.len))
        return options_refuse(
            c->o, "--header %s: the value of a key that ends in -bin is pairs of hexadecimal digits", h->key);
    h->value.ptr = x_keep(bytes);
    return EXIT_DONE;
}

int call_headers(call_t *c)
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

static void say_base64(const char *name, ensign_slice_t key, ensign_slice_t value)
{
    char *text = text_base64(value);

    say("%s: %.*s: %s in base64", name, (int)key.len, key.ptr, text);
    free(text);
}

static void say_metadata(const call_t *c, const char *name, int which)
{
    ensign_slice_t key, value;
    size_t at = 0;

    while (ensign_call_metadata_next(c->s.c, c->k, which, &at, &key, &value)) {
        if (is_printable(value))
            say("%s: %.*s: %.*s", name, (int)key.len, key.ptr, (int)value.len, value.ptr);
        else say_base64(name, key, value);
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

/* Has it ended with fewer or more answers than the method has? Then *why is an error, in the words that the
 * library has for its unary calls. */
static bool is_miscounted(const call_t *c, const ensign_notice_end_t *e, ensign_error_t *why)
{
    const char *kind = c->kind == ANSWERS_UNARY ? "is unary" : "gives one answer";

    if (c->kind == ANSWERS_MANY || c->answers == 1 || (c->answers == 0 && e->status != 0)) return false;
    memset(why, 0, sizeof *why);
    why->code = ENSIGN_E_INTERNAL;
    if (c->answers > 1)
        snprintf(why->text, sizeof why->text, "grpc: %.160s %s, but has more than one answer", c->method,
                 kind);
    else
        snprintf(why->text, sizeof why->text, "grpc: %.160s %s and ended OK, but with no whole answer",
                 c->method, kind);
    return true;
}

static void print_status(call_t *c, const ensign_notice_t *n)
{
    const ensign_notice_end_t *e = &n->as.end;
    ensign_error_t miscount;
    bool wrong = is_miscounted(c, e, &miscount);
    const ensign_error_t *error = wrong ? &miscount : n->error;
    int status = wrong ? ENSIGN_GRPC_INTERNAL : e->status;

    if (c->o->json) {
        json_object(NULL);
        json_text("kind", "end");
        json_int("status", status);
        json_text("status_name", status_name(status));
        json_slice("text", e->text);
        if (e->attempts > 1) json_int("attempts", e->attempts);
        if (error) json_text("error", error->text);
        if (e->metadata_cut) json_bool("metadata_cut", true);
        if (c->o->verbose > 0) json_metadata(c, "trailers", ENSIGN_TRAILERS);
    } else if (c->o->verbose > 0) {
        say_metadata(c, "trailer", ENSIGN_TRAILERS);
        if (e->metadata_cut) say("the metadata was cut; --max-metadata keeps more of it");
        say("status %d %s", status, status_name(status));
        if (e->attempts > 1) say("attempts: %u", (unsigned)e->attempts);
    }
    if (error && (wrong || !c->canceled)) session_error(&c->s, NULL, error);
}

/* To print the details may mean to ask the server for their types: the notice does not stand so long. */
static void print_end(call_t *c, const ensign_notice_t *n)
{
    ensign_slice_t details = n->as.end.details;
    uint8_t *copy = x_realloc(NULL, details.len);

    if (details.len > 0) memcpy(copy, details.ptr, details.len);
    details.ptr = copy;
    print_status(c, n);
    c->k.id = 0;
    c->ended = true;
    if (details.len > 0) c->form->print_details(c, details);
    if (c->o->json) json_close();
    free(copy);
}

/* ---- the call */

static void cancel(call_t *c)
{
    c->canceled = true;
    ensign_cancel(c->s.c, c->k.id);
}

/* All that is here and fits; true: all of it was sent. */
static bool send_here(call_t *c)
{
    while (c->sent < c->count) {
        message_t *m = &c->messages[c->sent];
        ensign_slice_t bytes = { m->bytes, m->len };
        int rc = ensign_call_send(c->s.c, c->k, bytes, 0);
        if (rc > 0) return false; /* AGAIN: until ROOM; ENDED: END is next */
        if (rc < 0) {
            session_error(&c->s, NULL, ensign_error(c->s.c));
            cancel(c);
            return false;
        }
        free(m->bytes);
        m->bytes = NULL;
        c->sent++;
    }
    c->sent = c->count = 0;
    return true;
}

static void send_some(call_t *c)
{
    while (send_here(c)) {
        if (!c->whole && !c->form->more(c)) {
            session_fail(&c->s, EXIT_USAGE);
            cancel(c);
            return;
        }
        if (c->count == 0) break;
    }
    if (c->whole && c->count == 0) c->half_closed = ensign_call_half_close(c->s.c, c->k) == ENSIGN_OK;
}

/* Only the first one, where the method has no more. */
static void take_message(call_t *c, ensign_slice_t message)
{
    if (c->kind != ANSWERS_MANY && ++c->answers > 1) cancel(c);
    else c->form->print(c, message);
}

static void take(call_t *c)
{
    const ensign_notice_t *n;

    while (!c->ended && (n = session_pull(&c->s)) != NULL) {
        if (n->handle != c->k.id) continue;
        if (n->type == ENSIGN_NOTICE_HEADERS) print_headers(c);
        if (n->type == ENSIGN_NOTICE_MESSAGE) take_message(c, n->as.message.bytes);
        if (n->type == ENSIGN_NOTICE_END) print_end(c, n);
    }
}

static void loop(call_t *c)
{
    while (!c->ended) {
        woke_t woke;
        bool reads;
        if (c->s.told && !c->canceled) cancel(c); /* which a wait for the type of an Any may have heard */
        if (!c->half_closed && !c->canceled) send_some(c);
        reads = !c->whole && !c->canceled && c->count == 0; /* no faster than the server takes it */
        woke = session_wait(&c->s, reads ? c->input->fd : -1, -1);
        if (woke == WOKE_INPUT && !input_read(c->input)) {
            session_fail(&c->s, EXIT_USAGE);
            cancel(c);
        }
        take(c);
        if (woke == WOKE_OVER) return;
    }
}

uint32_t call_time_left(const call_t *c)
{
    uint64_t all = c->o->deadline_ms, used = c->begun_ms > 0 ? ensign_now_ms() - c->begun_ms : 0;

    if (all == 0) return ENSIGN_FOREVER;
    return used < all ? (uint32_t)(all - used) : 0;
}

void call_fill(const call_t *c, const char *method, ensign_call_desc_t *d)
{
    const options_t *o = c->o;

    memset(d, 0, sizeof *d);
    d->method = method;
    d->metadata = c->headers;
    d->metadata_count = o->headers.count;
    d->no_token = o->no_token;
    d->deadline_ms = call_time_left(c);
    if (d->deadline_ms == 0) d->deadline_ms = 1; /* 0 would be no deadline */
    d->wait_for_ready = o->retry_ms > 0;
    d->retry.max_attempts = (uint32_t)o->attempts;
    d->max_message_bytes = d->max_send_bytes = (uint32_t)o->max_message;
    d->max_metadata_bytes = (uint32_t)o->max_metadata;
    d->compress = o->gzip;
}

void call_run(call_t *c, const char *method)
{
    ensign_call_desc_t d;

    call_fill(c, method, &d);
    c->method = method;
    c->begun_ms = ensign_now_ms();
    c->s.tells_waits = true;
    c->k = ensign_call_open(c->s.c, &d);
    if (c->k.id != 0) loop(c);
    else session_error(&c->s, NULL, ensign_error(c->s.c));
}

void call_end(call_t *c)
{
    for (size_t i = c->sent; i < c->count; i++) free(c->messages[i].bytes);
    free(c->messages);
}

/* ---- messages as bytes */

/* "package.Service/Method" is the same as with a slash in front. */
static const char *call_path(const char *method)
{
    size_t len = strlen(method);
    char *path;

    if (method[0] == '/' || !strchr(method, '/')) return method;
    path = x_keep(x_realloc(NULL, len + 2));
    path[0] = '/';
    memcpy(path + 1, method, len + 1);
    return path;
}

static int read_hex(call_t *c, const char *hex, const char *what, const char *remedy)
{
    ensign_slice_t message;
    uint8_t *bytes;

    if (!text_from_hex(hex, &bytes, &message.len)) return options_refuse(c->o, "%s%s", what, remedy);
    message.ptr = bytes;
    call_add(c, message);
    free(bytes);
    return EXIT_DONE;
}

static int read_file(call_t *c, const char *path)
{
    ensign_slice_t message;
    uint8_t *bytes;
    int status = EXIT_DONE;

    if (!input_whole(path, call_message_max(c->o), CALL_LIMIT, &bytes, &message.len)) return EXIT_USAGE;
    message.ptr = bytes;
    if (c->o->in != FORM_HEX) {
        call_add(c, message);
    } else {
        for (size_t i = 0; i < message.len; i++)
            if (bytes[i] == '\0') bytes[i] = '?'; /* no digit either, and does not end the text */
        bytes = x_realloc(bytes, message.len + 1);
        bytes[message.len] = '\0';
        status = read_hex(c, (char *)bytes, path,
                          " does not hold pairs of hexadecimal digits; --in raw takes bytes");
    }
    free(bytes);
    return status;
}

static int read_messages(call_t *c)
{
    const options_t *o = c->o;
    int status = EXIT_DONE;

    for (size_t i = 1; i < o->args.count && status == EXIT_DONE; i++) {
        char what[128];
        snprintf(what, sizeof what, "message \"%.80s\"", o->args.at[i]);
        status = read_hex(c, o->args.at[i], what,
                          ": give pairs of hexadecimal digits, or --file FILE for bytes");
    }
    for (size_t i = 0; i < o->files.count && status == EXIT_DONE; i++) status = read_file(c, o->files.at[i]);
    if (status == EXIT_DONE && c->count == 0) status = read_file(c, "-");
    return status;
}

static void print_bytes(call_t *c, ensign_slice_t message)
{
    if (c->o->json) {
        json_object(NULL);
        json_text("kind", "message");
        json_data("data", message);
        json_close();
    } else if (c->o->out == FORM_RAW || (c->o->raw && c->o->out == FORM_DEFAULT)) {
        out_raw(message);
    } else {
        out_hex(message);
        out_text("\n");
    }
}

static void print_details(call_t *c, ensign_slice_t details)
{
    if (c->o->json) json_data("details", details);
}

static int run_bytes(const options_t *o)
{
    static const call_form_t form = { print_bytes, print_details, NULL };
    static call_t c;
    int status;

    call_begin(&c, o, &form);
    if (o->json && (o->out != FORM_DEFAULT || o->raw))
        return options_refuse(o, "--json and --%s are two ways to print; use one of them",
                              o->raw ? "raw" : "out");
    if (o->hex && o->raw) return options_refuse(o, "--hex and --raw are two forms; use one of them");
    status = call_method(o);
    if (status == EXIT_DONE) status = call_headers(&c);
    if (status == EXIT_DONE) status = read_messages(&c);
    if (status == EXIT_DONE) {
        if (session_open(&c.s, o, false)) call_run(&c, call_path(o->args.at[0]));
        status = session_end(&c.s);
    }
    call_end(&c);
    return status;
}

#ifdef ENSIGN_GZIP
#define HAS_GZIP true
#else
#define HAS_GZIP false
#endif

int run_call(const options_t *o)
{
    bool bytes = o->hex || o->raw || o->in != FORM_DEFAULT || o->out != FORM_DEFAULT;

    if (o->gzip && !HAS_GZIP)
        return options_refuse(o, "--gzip needs zlib, and this ensign was built without it: install it "
                                 "(Debian: zlib1g-dev) and build again");
    return bytes ? run_bytes(o) : run_call_json(o);
}
