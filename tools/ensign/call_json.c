/* call_json.c - ensign call: messages as JSON, with types from the server, .proto files or descriptor sets;
 * and what is known of these types. See call.h */
#include "protoc.h"
#include "reflect.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SET_MAX (64u << 20)     /* bytes of a --protoset */
#define JSON_PER_BYTE 6         /* characters of JSON that one byte of a message can take: \u0001 */
#define LOOKUPS_MAX 64          /* types of an Any that are asked for: a server could name ever new ones */

typedef struct json_call_t {
    call_t    c;
    schema_t *schema;
    reflect_t reflect;
    bool      reflects;         /* no files were given: the server tells its types */
    schema_method_t method;
    input_t   in;               /* standard input, for MESSAGE - */
    uint64_t  lines;            /* of it that had a message */
    unsigned  lookups;
    bool      mute;             /* a lookup has failed, and that was said */
} json_call_t;

/* ---- names */

static const char *files_option(const options_t *o)
{
    return o->protosets.count == 0 ? "--proto"
           : o->protos.count == 0  ? "--protoset"
                                   : "--proto and --protoset";
}

/* Says that there is no such name, and what to do. */
static int absent(json_call_t *j, const char *name)
{
    if (j->reflects) complain("the server has no %s; ensign call --list shows its services", name);
    else complain("the files of %s have no %s; --list shows their services", files_option(j->c.o), name);
    return EXIT_ABSENT;
}

/* Looks for a type, a service or a part of one. Says nothing if it is not found. */
static reflected_t look_for(json_call_t *j, const char *name)
{
    reflected_t got;

    if (schema_has(j->schema, name)) return REFLECT_DONE;
    if (!j->reflects) return REFLECT_ABSENT;
    got = reflect_symbol(&j->reflect, name);
    return got == REFLECT_DONE && !schema_has(j->schema, name) ? REFLECT_ABSENT : got;
}

/* Sees to it that the name is a type, a service or a part of one: an exit status. */
static int find(json_call_t *j, const char *name)
{
    reflected_t got = look_for(j, name);
    return got == REFLECT_DONE ? EXIT_DONE : got == REFLECT_ABSENT ? absent(j, name) : j->c.s.status;
}

/* "pkg.Service/Method", "pkg.Service.Method", with a slash or a dot in front: the same with dots alone. */
static char *dotted(const char *name)
{
    char *copy = x_keep_text(name, strlen(name));

    if (copy[0] == '/' || copy[0] == '.') copy++;
    for (char *p = copy; *p != '\0'; p++)
        if (*p == '/') *p = '.';
    return copy;
}

static int find_method(json_call_t *j, const char *text)
{
    char *service = dotted(text), *dot = strrchr(service, '.');
    int status;

    if (!dot || dot == service || dot[1] == '\0')
        return options_refuse(j->c.o, "%s: name a method as package.Service/Method", text);
    *dot = '\0';
    status = find(j, service);
    if (status != EXIT_DONE) return status;
    if (schema_method(j->schema, service, dot + 1, &j->method)) return EXIT_DONE;
    complain("%s", schema_error(j->schema));
    return EXIT_ABSENT;
}

/* May the server be asked for one more type? Not when the command is to end: by a signal, by --deadline. */
static bool may_look_up(const json_call_t *j)
{
    return j->reflects && !j->mute && j->lookups < LOOKUPS_MAX && !j->c.s.told && stop_signal() == 0 &&
           call_time_left(&j->c) > 0;
}

/* Did the conversion that failed lack the type of an Any, and has the server told it now? */
static bool look_up(json_call_t *j, const char *name)
{
    reflected_t got;

    if (!may_look_up(j)) return false;
    j->lookups++;
    if (j->c.k.id != 0) ensign_hold(j->c.s.c, j->c.k.id, true); /* its message is still needed */
    got = reflect_symbol(&j->reflect, name);
    if (j->c.k.id != 0) reflect_rest(&j->reflect);
    if (j->c.k.id != 0) ensign_hold(j->c.s.c, j->c.k.id, false);
    j->mute = got == REFLECT_FAILED;
    return got == REFLECT_DONE && schema_has(j->schema, name);
}

/* To JSON, with or without the types that were lacking: of one message all in one go, for a server could name
 * ever new ones. False: it failed for another reason. */
static bool can_go_on(json_call_t *j)
{
    const char *lacks = schema_lacks(j->schema);

    if (!lacks) return false;
    while (lacks && may_look_up(j)) {
        char *name = x_keep_text(lacks, strlen(lacks));
        (void)look_up(j, name);
        schema_give_up(j->schema, name); /* which counts only where it was not found */
        lacks = schema_lacks(j->schema);
    }
    if (lacks) schema_give_up(j->schema, NULL);
    return true;
}

/* ---- the request */

/* Of the JSON of one message. */
static size_t json_max(const options_t *o)
{
    size_t max = call_message_max(o);
    return max < SIZE_MAX / JSON_PER_BYTE ? JSON_PER_BYTE * max : SIZE_MAX / 2;
}

/* What to do about a message that has more than one value, and about one that has less. */
typedef struct hints_t { const char *apart, *whole; } hints_t;

static const hints_t of_argument = { "give each as a MESSAGE of its own", "" };
static const hints_t of_file = { "give each in a file of its own", "" };
static const hints_t of_line = { "put each on a line of its own",
                                 "; each line is one message, and --file - takes one over several lines" };

/* Is this one JSON value, and nothing else? where: what is told of it if not. */
static bool is_one_value(const json_call_t *j, const char *where, const hints_t *hints, ensign_slice_t json)
{
    const options_t *o = j->c.o;
    size_t end, more;
    ensign_slice_t rest;

    if (!text_json(json, &end)) {
        if (json.len == 0) options_refuse(o, "%s is empty; {} is a message without fields", where);
        else if (end >= json.len) options_refuse(o, "%s: the JSON ends too early%s", where, hints->whole);
        else options_refuse(o, "%s is not JSON from character %zu on", where, end + 1);
        return false;
    }
    if (end == json.len) return true;
    rest.ptr = json.ptr + end;
    rest.len = json.len - end;
    if (text_json(rest, &more)) options_refuse(o, "%s has more than one JSON value; %s", where, hints->apart);
    else options_refuse(o, "%s is not JSON from character %zu on", where, end + 1);
    return false;
}

static bool add_json(json_call_t *j, const char *where, ensign_slice_t json)
{
    int flags = j->c.o->allow_unknown_fields ? SCHEMA_IGNORE_UNKNOWN : 0;
    ensign_slice_t message;

    while (!schema_from_json(j->schema, j->method.input, json, flags, &message)) {
        const char *why = schema_error(j->schema), *lacks = schema_lacks(j->schema);
        why = x_keep_text(why, strlen(why));
        if (lacks && look_up(j, x_keep_text(lacks, strlen(lacks)))) continue;
        options_refuse(j->c.o, "%s: %s", where, why);
        return false;
    }
    call_add(&j->c, message);
    return true;
}

/* A line of standard input; an empty one is no message. */
static bool add_line(json_call_t *j, ensign_slice_t line)
{
    char where[64];
    size_t i = 0;

    while (i < line.len && strchr(" \t\r", line.ptr[i]) && line.ptr[i] != '\0') i++;
    if (i == line.len) return true;
    j->lines++;
    snprintf(where, sizeof where, "line %" PRIu64 " of standard input", j->in.line);
    if (j->lines > 1 && !j->method.client_streams) {
        options_refuse(j->c.o, "%s: %s takes one message", where, j->method.path);
        return false;
    }
    return is_one_value(j, where, &of_line, line) && add_json(j, where, line);
}

/* The lines that are here: all of them, or up to one that has a message. */
static bool take_lines(json_call_t *j, bool all)
{
    ensign_slice_t line;

    while (all || j->c.count == 0) {
        switch (input_line(&j->in, &line)) {
        case LINE_GOT:
            if (!add_line(j, line)) return false;
            break;
        case LINE_NONE: return true;
        case LINE_EOF:
            j->c.whole = true;
            return true;
        case LINE_TOO_LONG:
            options_refuse(j->c.o,
                           "line %" PRIu64 " of standard input is longer than %zu bytes; --max-message takes "
                           "longer ones",
                           j->in.line + 1, j->in.max);
            return false;
        }
    }
    return true;
}

/* Several lines may come of one read, and the server may not take all of them at once. */
static bool more_lines(call_t *c)
{
    return take_lines(c->own, false);
}

/* Of a method that takes one message: it is sent when standard input has ended, and has no other. */
static bool all_lines(json_call_t *j)
{
    reflect_rest(&j->reflect); /* to type may take long */
    while (!j->c.whole) {
        woke_t woke = WOKE_NOTICE;
        if (!take_lines(j, true)) return false;
        if (!j->c.whole) woke = session_wait(&j->c.s, j->in.fd, -1);
        if (woke == WOKE_STOP || woke == WOKE_OVER) return false;
        if (woke == WOKE_INPUT && !input_read(&j->in)) return false;
        while (session_pull(&j->c.s) != NULL) continue;
    }
    if (j->lines == 1) return true;
    options_refuse(j->c.o, "standard input has no message, and %s takes one", j->method.path);
    return false;
}

static bool add_file(json_call_t *j, const char *path)
{
    ensign_slice_t json;
    uint8_t *bytes;
    bool ok;

    if (!input_whole(path, json_max(j->c.o), CALL_LIMIT, &bytes, &json.len)) return false;
    json.ptr = bytes;
    ok = is_one_value(j, path, &of_file, json) && add_json(j, path, json);
    free(bytes);
    return ok;
}

static bool is_stdin(const options_t *o, size_t arg)
{
    return strcmp(o->args.at[arg], "-") == 0;
}

static bool is_hex(const char *text)
{
    uint8_t *bytes;
    size_t len;
    bool ok = text_from_hex(text, &bytes, &len);

    free(bytes);
    return ok;
}

/* What can be said of the arguments before anybody is asked. */
static int check_messages(const json_call_t *j)
{
    const options_t *o = j->c.o;

    for (size_t i = 1; i < o->args.count; i++) {
        const char *message = o->args.at[i];
        char where[32];
        snprintf(where, sizeof where, "message %zu", i);
        if (is_stdin(o, i) && (i + 1 < o->args.count || o->files.count > 0))
            return options_refuse(o, "the message - stands for the lines of standard input; put it last");
        if (is_stdin(o, i)) continue;
        if (message[0] == '@')
            return options_refuse(o, message[1] == '\0' ? "%s: - stands for the lines of standard input"
                                                        : "%s: --file %s reads a message from a file",
                                  where, message + 1);
        if (!is_one_value(j, where, &of_argument, ensign_str(message))) {
            if (message[0] != '\0' && is_hex(message)) complain("messages in hexadecimal digits need --hex");
            return EXIT_USAGE;
        }
    }
    return EXIT_DONE;
}

/* The messages that are known before the call; the lines of standard input follow in it. */
static bool add_messages(json_call_t *j)
{
    const options_t *o = j->c.o;
    size_t given = o->args.count - 1 + o->files.count;
    bool lines = o->args.count > 1 && is_stdin(o, o->args.count - 1);

    if (given > 1 && !j->method.client_streams) {
        options_refuse(o, "%s takes one message, and %zu are given", j->method.path, given);
        return false;
    }
    for (size_t i = 1; i < o->args.count - (lines ? 1 : 0); i++) {
        char where[32];
        snprintf(where, sizeof where, "message %zu", i);
        if (!add_json(j, where, ensign_str(o->args.at[i]))) return false;
    }
    for (size_t i = 0; i < o->files.count; i++)
        if (!add_file(j, o->files.at[i])) return false;
    if (given == 0 && !j->method.client_streams) call_add(&j->c, ensign_str("")); /* without any field */
    j->c.whole = !lines;
    if (!lines) return true;
    if (!input_open(&j->in, "-")) return false;
    j->in.max = json_max(o);
    j->c.input = &j->in;
    return j->method.client_streams || all_lines(j);
}

/* ---- printing */

/* To JSON, with the types that an Any needs. */
static bool to_json(json_call_t *j, ensign_slice_t message, ensign_slice_t *json)
{
    const options_t *o = j->c.o;
    int flags = (o->emit_defaults ? SCHEMA_DEFAULTS : 0) |
                (out_is_terminal() && !o->json ? SCHEMA_PRETTY : 0);

    while (!schema_to_json(j->schema, j->method.output, message, flags, json))
        if (!can_go_on(j)) return false;
    return true;
}

static void print_message(call_t *c, ensign_slice_t message)
{
    json_call_t *j = c->own;
    ensign_slice_t json;

    if (!to_json(j, message, &json)) {
        complain("%s", schema_error(j->schema));
        session_fail(&c->s, EXIT_FAILED);
        return;
    }
    if (c->o->json) {
        json_object(NULL);
        json_text("kind", "message");
        json_value("message", json);
        json_close();
    } else {
        json_value(NULL, json);
    }
}

static bool one_detail(json_call_t *j, ensign_slice_t details, size_t i, const char **type,
                       ensign_slice_t *json)
{
    while (!schema_detail(j->schema, details, i, 0, type, json))
        if (!can_go_on(j)) return false;
    return true;
}

static void print_details(call_t *c, ensign_slice_t details)
{
    json_call_t *j = c->own;
    ensign_slice_t json;
    const char *type;

    if (c->o->json) json_list("details");
    for (size_t i = 0; one_detail(j, details, i, &type, &json); i++) {
        if (c->o->json) json_value(NULL, json);
        else complain("detail: %.*s", (int)json.len, json.ptr);
    }
    if (c->o->json) json_close();
    if (schema_error(j->schema)[0] != '\0') complain("detail: %s", schema_error(j->schema));
}

/* ---- what is known: --list, --describe, --template */

static void print_name(const char *key, const char *name)
{
    if (key) {
        json_object(NULL);
        json_text(key, name);
        json_close();
    } else {
        out_safe(ensign_str(name), false);
        out_text("\n");
    }
}

static void print_method(const options_t *o, const schema_method_t *m)
{
    if (!o->json) {
        print_name(NULL, m->path + 1);
        return;
    }
    json_object(NULL);
    json_text("method", m->path + 1);
    json_text("request", m->input);
    json_text("response", m->output);
    json_bool("client_streams", m->client_streams);
    json_bool("server_streams", m->server_streams);
    json_close();
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void list_services(const json_call_t *j)
{
    const char **names = NULL, *name;
    size_t count = 0;

    while ((name = schema_service(j->schema, count)) != NULL) {
        names = x_realloc(names, (count + 1) * sizeof *names);
        names[count++] = name;
    }
    if (count > 0) qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < count; i++) print_name(j->c.o->json ? "service" : NULL, names[i]);
    free(names);
}

/* The services of a package, if the name is one: said. */
static bool is_package(json_call_t *j, const char *package)
{
    const char *service;
    size_t len = strlen(package);
    bool found = false;

    if (j->reflects && reflect_services(&j->reflect) != REFLECT_DONE) return false;
    for (size_t i = 0; (service = schema_service(j->schema, i)) != NULL; i++) {
        if (strncmp(service, package, len) != 0 || service[len] != '.') continue;
        complain("%s is a package; name something in it, such as its service %s", package, service);
        found = true;
        break;
    }
    return found;
}

/* For a question about a name: finds it, or tells what else it is. An exit status. */
static int find_or_package(json_call_t *j, const char *name)
{
    reflected_t got = look_for(j, name);
    char *around = x_keep_text(name, strlen(name)), *dot = strrchr(around, '.');

    if (got == REFLECT_ABSENT && dot) { /* a value of an enum: the server knows the enum by this name */
        *dot = '\0';
        got = look_for(j, around);
        if (got == REFLECT_DONE && !schema_has(j->schema, name)) got = REFLECT_ABSENT;
    }
    if (got == REFLECT_DONE) return EXIT_DONE;
    if (got == REFLECT_FAILED) return j->c.s.status;
    if (is_package(j, name)) return EXIT_ABSENT;
    return j->c.s.status != EXIT_DONE ? j->c.s.status : absent(j, name);
}

/* "package.Service.Method": then it is j->method. */
static bool is_method(json_call_t *j, const char *name)
{
    char *service = x_keep_text(name, strlen(name)), *dot = strrchr(service, '.');

    if (!dot) return false;
    *dot = '\0';
    return schema_method(j->schema, service, dot + 1, &j->method);
}

static int run_list(json_call_t *j)
{
    const options_t *o = j->c.o;
    schema_method_t m;
    const char *service;
    int status;

    if (o->args.count == 0) {
        if (j->reflects && reflect_services(&j->reflect) != REFLECT_DONE) {
            session_fail(&j->c.s, EXIT_FAILED);
            return j->c.s.status;
        }
        list_services(j);
        return EXIT_DONE;
    }
    service = dotted(o->args.at[0]);
    status = call_method(o);
    if (status == EXIT_DONE) status = find_or_package(j, service);
    if (status != EXIT_DONE) return status;
    for (size_t i = 0; schema_method_at(j->schema, service, i, &m); i++) print_method(o, &m);
    if (schema_error(j->schema)[0] == '\0') return EXIT_DONE;
    complain("%s", schema_error(j->schema));
    return EXIT_ABSENT;
}

static int run_describe(json_call_t *j)
{
    const options_t *o = j->c.o;
    const char *name = dotted(o->describe);
    ensign_slice_t text;
    int status = find_or_package(j, name);

    if (status != EXIT_DONE) return status;
    if (!schema_describe(j->schema, name, &text)) return absent(j, name);
    if (o->json) {
        json_object(NULL);
        json_text("name", name);
        json_slice("definition", text);
        json_close();
    } else {
        out_safe(text, true);
        out_text("\n");
    }
    return EXIT_DONE;
}

static int run_template(json_call_t *j)
{
    const char *name = dotted(j->c.o->template_of);
    ensign_slice_t json;
    int status = find_or_package(j, name);

    if (status != EXIT_DONE) return status;
    if (is_method(j, name)) name = j->method.input;
    if (schema_template(j->schema, name, !j->c.o->json, &json)) return json_value(NULL, json), EXIT_DONE;
    complain("%s; --template takes the name of a message or a method", schema_error(j->schema));
    return EXIT_ABSENT;
}

/* ---- where the types come from */

static int load_set(json_call_t *j, const char *path)
{
    ensign_slice_t set;
    uint8_t *bytes;
    bool ok;

    if (!input_whole(path, SET_MAX, "a descriptor set may have", &bytes, &set.len)) return EXIT_USAGE;
    set.ptr = bytes;
    ok = schema_add_set(j->schema, set);
    free(bytes);
    return ok ? EXIT_DONE : options_refuse(j->c.o, "--protoset %s: %s", path, schema_error(j->schema));
}

static int load_proto(json_call_t *j)
{
    const options_t *o = j->c.o;
    ensign_slice_t set;
    uint8_t *bytes;
    bool ok = protoc_run(&o->protos, &o->import_paths, &bytes, &set.len);

    set.ptr = bytes;
    if (ok && !schema_add_set(j->schema, set)) {
        options_refuse(o, "--proto: %s", schema_error(j->schema));
        ok = false;
    }
    free(bytes);
    return ok ? EXIT_DONE : EXIT_USAGE;
}

static int load(json_call_t *j)
{
    const options_t *o = j->c.o;
    int status = o->protos.count > 0 ? load_proto(j) : EXIT_DONE;

    for (size_t i = 0; i < o->protosets.count && status == EXIT_DONE; i++)
        status = load_set(j, o->protosets.at[i]);
    if (status == EXIT_DONE && !schema_link(j->schema))
        status = options_refuse(o, "%s", schema_error(j->schema));
    return status;
}

/* ---- the command */

static int run_method(json_call_t *j)
{
    int status = find_method(j, j->c.o->args.at[0]);

    if (status == EXIT_DONE && !add_messages(j)) status = EXIT_USAGE;
    reflect_rest(&j->reflect);
    j->c.kind = j->method.server_streams   ? ANSWERS_MANY
                : j->method.client_streams ? ANSWERS_ONE
                                           : ANSWERS_UNARY;
    if (status == EXIT_DONE) call_run(&j->c, j->method.path);
    return status;
}

/* Which of the four it is; NULL: the options do not go together, and that was said. */
static int (*what_to_do(const options_t *o))(json_call_t *)
{
    unsigned asked = (o->list ? 1u : 0u) + (o->describe ? 1u : 0u) + (o->template_of ? 1u : 0u);

    if (asked > 1) {
        options_refuse(o, "--list, --describe and --template are three questions; ask one");
    } else if (asked == 0 && o->args.count == 0) {
        call_method(o);
    } else if (asked == 1 && o->args.count > (o->list ? 1u : 0u)) {
        options_refuse(o,
                       "\"%s\" is too much; --list takes one service at most, --describe and --template take "
                       "one name",
                       o->args.at[o->list ? 1 : 0]);
    } else if (o->import_paths.count > 0 && o->protos.count == 0) {
        options_refuse(o, "--import-path is for the imports of --proto; add --proto FILE");
    } else {
        return o->list ? run_list : o->describe ? run_describe : o->template_of ? run_template : run_method;
    }
    return NULL;
}

static int run(json_call_t *j, int (*what)(json_call_t *))
{
    const options_t *o = j->c.o;
    bool needs_server = j->reflects || what == run_method;
    int status = what == run_method ? call_method(o) : EXIT_DONE;

    if (status == EXIT_DONE && what == run_method) status = check_messages(j);
    if (status == EXIT_DONE) status = call_headers(&j->c);
    if (status == EXIT_DONE && !j->reflects) status = load(j);
    if (status != EXIT_DONE || !needs_server) return status != EXIT_DONE ? status : what(j);
    if (session_open(&j->c.s, o, false)) status = what(j);
    session_fail(&j->c.s, status);
    return session_end(&j->c.s);
}

int run_call_json(const options_t *o)
{
    static const call_form_t form = { print_message, print_details, more_lines };
    static json_call_t j;
    int (*what)(json_call_t *) = what_to_do(o);
    int status;

    if (!what) return EXIT_USAGE;
    call_begin(&j.c, o, &form);
    j.c.own = &j;
    j.reflects = o->protos.count == 0 && o->protosets.count == 0;
    j.schema = schema_new();
    if (!j.schema) return complain("there is no memory left"), EXIT_FAILED;
    j.reflect.c = &j.c;
    j.reflect.schema = j.schema;
    status = run(&j, what);
    if (j.c.input) input_close(&j.in);
    call_end(&j.c);
    schema_free(j.schema);
    return status;
}
