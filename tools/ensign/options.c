/* options.c - see options.h */
#include "options.h"
#include "bits.h"
#include "profile.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(options_t, field)
#define YEAR_MS 31536000000u
#define DEDUPS "none|strict|datagram|key-grouped|unique-key|unique-field"

static const option_t known[] = {
    { C_PUBLISH, 'f', "--file", KIND_LIST, "FILE", AT(files), 0, 0,
      "publish the whole of FILE as one event; can be repeated; -: standard input" },
    { C_PUBLISH, 'l', "--lines", KIND_TEXT, "FILE", AT(lines), 0, 0,
      "each line of FILE is an event [-: standard input]" },
    { C_PUBLISH, 0, "--ndjson", KIND_FLAG, NULL, AT(ndjson), 0, 0,
      "each line is one JSON value, which is checked" },
    { C_PUBLISH, 0, "--from-json", KIND_TEXT, "FILE", AT(from_json), 0, 0,
      "each line of FILE is an event as subscribe and query print it with --json: data, key, MIME type, "
      "schema and metadata are published again; -: standard input" },
    { C_PUBLISH, '0', "--null", KIND_FLAG, NULL, AT(null), 0, 0,
      "lines end in a zero byte instead of a newline" },
    { C_PUBLISH, 'm', "--mimetype", KIND_TEXT, "TYPE", AT(mimetype), 0, 0,
      "MIME type: a name or a number [text/plain; --ndjson: application/json; --file: by the file's "
      "ending]" },
    { C_PUBLISH, 't', "--type", KIND_TEXT, "NAME@1.2.3", AT(type), 0, 0,
      "schema of the data, and its version" },
    { C_PUBLISH, 'M', "--meta", KIND_LIST, "KEY=VALUE", AT(meta), 0, 0, "metadata; can be repeated" },
    { C_PUBLISH, 'k', "--key", KIND_TEXT, "KEY", AT(key), 0, 0, "the events' key" },
    { C_PUBLISH | C_BENCH, 'r', "--rate", KIND_REAL, "N", AT(rate), 0, 0,
      "at most N events a second [as fast as they are taken]" },
    { C_PUBLISH | C_SUBSCRIBE | C_BENCH, 'e', "--ensure-topic", KIND_FLAG, NULL, AT(ensure_topic), 0, 0,
      "make the topic if it does not exist" },
    { C_PUBLISH, 'a', "--acks", KIND_FLAG, NULL, AT(acks), 0, 0,
      "print a line for each event that was stored" },
    { C_PUBLISH, 0, "--progress", KIND_FLAG, NULL, AT(progress), 0, 0,
      "show progress [if standard error is a terminal, and the events are not typed there]" },
    { C_PUBLISH, 0, "--no-progress", KIND_FLAG, NULL, AT(no_progress), 0, 0, "show no progress" },
    { C_PUBLISH, 0, "--close-timeout", KIND_MS, "TIME", AT(close_timeout_ms), 0, YEAR_MS,
      "how long to wait for answers after ^C [10s]" },

    { C_EVENTS, 0, "--raw", KIND_FLAG, NULL, AT(raw), 0, 0,
      "print the data of each event alone, as it is (on a terminal: escaped), and a newline" },
    { C_EVENTS, '0', "--null", KIND_FLAG, NULL, AT(null), 0, 0,
      "--raw, with a zero byte instead of the newline" },
    { C_EVENTS, 0, "--no-newline", KIND_FLAG, NULL, AT(no_newline), 0, 0,
      "--raw, with nothing between events" },
    { C_EVENTS, 0, "--format", KIND_TEXT, "FORMAT", AT(format), 0, 0,
      "print each event by this format, as kcat does: %t topic, %o offset (0 from server 0.12), %d or %s "
      "data, %S its size, %k key, %K its size, %h metadata, %i id, %m MIME type, %y schema, %p publisher, %c "
      "created and "
      "%C committed (UTC), %T created (ms since 1970), %%; \\n \\r \\t \\0 \\xHH \\\\" },
    { C_EVENTS, 0, "--python", KIND_FLAG, NULL, AT(python), 0, 0,
      "print events as PyEnsign does, which cuts data after 100 characters; it does not go with --full" },
    { C_EVENTS, 0, "--full", KIND_FLAG, NULL, AT(full), 0, 0,
      "print all of the data; else text has its first 100 characters" },
    { C_EVENTS, 'n', "--count", KIND_NUMBER, "N", AT(count), 1, UINT64_MAX, "end after N events" },
    { C_EVENTS | C_HEALTH, 0, "--timeout", KIND_MS, "TIME", AT(timeout_ms), 1, YEAR_MS,
      "end after this time; exit status 6 if there is a --count and it was not reached, or if the stream was "
      "not open by then: no connection, or no answer" },
    { C_SUBSCRIBE, 0, "--idle", KIND_MS, "TIME", AT(idle_ms), 1, YEAR_MS,
      "end when no event came for this time; exit status as of --timeout" },

    { C_SUBSCRIBE, 0, "--from", KIND_TEXT, "PLACE", AT(from), 0, 0,
      "begin with events that are stored, at PLACE, see above; implies --resume; with a --group it counts "
      "where the group is new, and does nothing where the group is there already; ensignd has offsets, "
      "server 0.12 of the service does not [live]" },
    { C_SUBSCRIBE, 0, "--resume", KIND_FLAG, NULL, AT(resume), 0, 0,
      "after a break go on behind the last event, so that none is missing" },
    { C_SUBSCRIBE, 0, "--group", KIND_TEXT, "NAME", AT(group), 0, 0,
      "be a member of this consumer group: ensignd gives each event to one member, and keeps the group's "
      "place, where the group goes on by itself; implies --resume; server 0.12 of the service does neither" },
    { C_SUBSCRIBE, 0, "--ack", KIND_FLAG, NULL, AT(ack), 0, 0,
      "tell the server of each event that was printed: this is the default" },
    { C_SUBSCRIBE, 0, "--no-ack", KIND_FLAG, NULL, AT(no_ack), 0, 0,
      "print events, and tell the server nothing: in a group at most 256 come at once (ensignd "
      "--max-unacked), and each comes 5 times at most (--max-deliver); then it is a dead letter" },
    { C_SUBSCRIBE, 0, "--nack-every", KIND_TEXT, "N[:CODE]", AT(nack_every), 0, 0,
      "to try a --group: print each Nth event, and nack it; CODE: unprocessed, timeout, unhandled-mimetype, "
      "unknown-type, deliver-again-any, deliver-again-not-me [unprocessed]" },
    { C_SUBSCRIBE, 0, "--filter", KIND_TEXT, "SQL", AT(filter), 0, 0,
      "query that the events must match, of one of the topics; all members of a --group give the same; ensignd "
      "uses it, server 0.12 of the service does not" },

    { C_QUERY, 'p', "--param", KIND_LIST, "NAME=TYPE:VALUE", AT(params), 0, 0,
      "a parameter, which the query names as :NAME; TYPE: int, double, bool, string, bytes (in hex); can be "
      "repeated; ensignd uses it, server 0.12 of the service does not" },
    { C_QUERY, 'D', "--include-duplicates", KIND_FLAG, NULL, AT(include_duplicates), 0, 0,
      "print duplicates, too" },

    { C_CREATE, 0, "--if-missing", KIND_FLAG, NULL, AT(if_missing), 0, 0,
      "show the topic if it exists; that is not an error then" },
    { C_CREATE | C_POLICY, 0, "--dedup", KIND_CHOICE, DEDUPS, AT(dedup), 0, 0,
      "when two events are duplicates: never; all is equal; the data are; the data and the values of --keys "
      "are; those of --keys are; those of --fields are" },
    { C_CREATE | C_POLICY, 0, "--keys", KIND_WORDS, "KEY,...", AT(keys), 0, 0,
      "of the metadata, for key-grouped and unique-key" },
    { C_CREATE | C_POLICY, 0, "--fields", KIND_WORDS, "FIELD,...", AT(fields), 0, 0,
      "of the data, for unique-field" },
    { C_CREATE | C_POLICY, 0, "--offset", KIND_CHOICE, "earliest|latest", AT(offset), 0, 0,
      "which of the duplicates is the original [earliest]" },
    { C_CREATE | C_POLICY, 0, "--overwrite-duplicate", KIND_FLAG, NULL, AT(overwrite_duplicate), 0, 0,
      "do not store the content of a duplicate, but only that it came" },
    { C_GROUPS_RESET, 0, "--to", KIND_TEXT, "PLACE", AT(to), 0, 0,
      "where the group goes on, see above" },
    { C_RM | C_GROUPS_RM, 'y', "--yes", KIND_FLAG, NULL, AT(yes), 0, 0, "do not ask" },

    { C_STATUS, 0, "--auth", KIND_FLAG, NULL, AT(auth), 0, 0, "ask the auth service instead" },

    { C_HEALTH, 's', "--service", KIND_TEXT, "NAME", AT(service), 0, 0,
      "one service of the server [the server as a whole]" },
    { C_HEALTH, 'w', "--watch", KIND_FLAG, NULL, AT(watch), 0, 0, "go on, and print each change" },
    { C_HEALTH, 'n', "--count", KIND_NUMBER, "N", AT(count), 1, UINT64_MAX,
      "--watch ends after it has printed N states" },

    { C_CALL, 0, "--list", KIND_FLAG, NULL, AT(list), 0, 0,
      "print the services, or the methods of the service that is named, and call nothing" },
    { C_CALL, 0, "--describe", KIND_TEXT, "NAME", AT(describe), 0, 0,
      "print what a .proto file says of this service, method, message, field, enum or value of an enum, and "
      "call nothing" },
    { C_CALL, 0, "--template", KIND_TEXT, "NAME", AT(template_of), 0, 0,
      "print this message, or what this method takes, with all of its fields, as JSON to be filled in, and "
      "call nothing" },
    { C_CALL, 0, "--proto", KIND_LIST, "FILE", AT(protos), 0, 0,
      "take the types from this .proto file, by protoc, instead of the server; can be repeated" },
    { C_CALL, 'I', "--import-path", KIND_LIST, "DIR", AT(import_paths), 0, 0,
      "look here for the files of --proto and their imports; can be repeated [the folder of each FILE]" },
    { C_CALL, 0, "--protoset", KIND_LIST, "FILE", AT(protosets), 0, 0,
      "take the types from this FileDescriptorSet, which protoc --include_imports --descriptor_set_out has "
      "written; can be repeated" },
    { C_CALL, 'f', "--file", KIND_LIST, "FILE", AT(files), 0, 0,
      "one message of the request, over any number of lines; can be repeated; -: standard input" },
    { C_CALL, 0, "--hex", KIND_FLAG, NULL, AT(hex), 0, 0,
      "messages are bytes, not JSON: MESSAGE in hexadecimal digits, files as bytes, answers in hex" },
    { C_CALL, 0, "--raw", KIND_FLAG, NULL, AT(raw), 0, 0,
      "as --hex, with answers as bytes and nothing between them" },
    { C_CALL, 0, "--in", KIND_CHOICE, "raw|hex", AT(in), 0, 0,
      "how files hold a message; implies --hex [raw]" },
    { C_CALL, 0, "--out", KIND_CHOICE, "raw|hex", AT(out), 0, 0,
      "how answers are printed: hex: a line each; raw: bytes, with nothing between them; implies --hex "
      "[hex]" },
    { C_CALL, 0, "--emit-defaults", KIND_FLAG, NULL, AT(emit_defaults), 0, 0,
      "print fields that have their default value, too" },
    { C_CALL, 0, "--allow-unknown-fields", KIND_FLAG, NULL, AT(allow_unknown_fields), 0, 0,
      "pass over fields of MESSAGE that its type lacks" },
    { C_CALL, 0, "--gzip", KIND_FLAG, NULL, AT(gzip), 0, 0,
      "compress the messages of the request that get smaller by it" },
    { C_CALL, 0, "--max-message", KIND_NUMBER, "BYTES", AT(max_message), 1, 1u << 30,
      "the largest message, as bytes, in each direction [4194304]" },
    { C_CALL, 0, "--max-metadata", KIND_NUMBER, "BYTES", AT(max_metadata), 1, 1u << 30,
      "how much of the received metadata is kept [8192]" },
    { C_CALL, 'H', "--header", KIND_LIST, "KEY:VALUE", AT(headers), 0, 0,
      "metadata to send; the key becomes lower case; the value of a key that ends in -bin is in hex; can be "
      "repeated" },
    { C_CALL, 0, "--deadline", KIND_MS, "TIME", AT(deadline_ms), 1, UINT32_MAX - 1,
      "limit of the whole call [none]" },
    { C_CALL, 0, "--attempts", KIND_NUMBER, "N", AT(attempts), 1, 5,
      "try the call up to N times while it fails with UNAVAILABLE before the server's headers come "
      "[ENSIGN_ATTEMPTS; 1]" },
    { C_CALL, 0, "--no-token", KIND_FLAG, NULL, AT(no_token), 0, 0,
      "send no token; by default the server gets the token of your key" },

    { C_BENCH, 'n', "--events", KIND_NUMBER, "N", AT(events), 1, 10000000, "how many [100000]" },
    { C_BENCH, 's', "--size", KIND_NUMBER, "BYTES", AT(size), 16, 4000000,
      "size of each event's data [128]" },
    { C_BENCH, 0, "--trips", KIND_NUMBER, "N", AT(trips), 0, 1000000, "round trips, one at a time [1000]" },
    { C_BENCH, 0, "--no-subscribe", KIND_FLAG, NULL, AT(no_subscribe), 0, 0, "publish only" },

    { C_HELP, 0, "--words", KIND_FLAG, NULL, AT(words), 0, 0,
      "print command, option, value, a line each: for programs" },

    { C_ONLINE, 'j', "--json", KIND_FLAG, NULL, AT(json), 0, 0, "print JSON, one object a line" },
    { C_ALL, 0, "--color", KIND_CHOICE, "auto|always|never", AT(color), 0, 0,
      "colours [auto: on a terminal, unless NO_COLOR is set]" },
    { C_ONLINE, 'q', "--quiet", KIND_FLAG, NULL, AT(quiet), 0, 0,
      "say nothing but errors on standard error" },
    { C_ONLINE, 'v', "--verbose", KIND_TIMES, NULL, AT(verbose), 0, 0,
      "say what the connection does; call: print metadata; twice: each of its steps; three times: each "
      "frame of HTTP/2, without what is in it" },
    { C_ALL, 'h', "--help", KIND_FLAG, NULL, AT(help), 0, 0, "this" },
};

/* The same for all commands, and shown apart. */
static const option_t connection[] = {
    { C_ONLINE, 'E', "--endpoint", KIND_TEXT, "HOST:PORT", AT(endpoint), 0, 0,
      "the server, or unix:/PATH; several with commas are tried in turn [ENSIGN_ENDPOINT; with a key "
      "ensign.rotational.app:443]" },
    { C_ONLINE, 0, "--profile", KIND_TEXT, "NAME", AT(profile), 0, 0,
      "use this profile of the file ensign/profiles ($XDG_CONFIG_HOME, or ~/.config) for what no other "
      "option gives; the environment comes behind it; the manual describes the file" },
    { C_ONLINE, 0, "--shuffle", KIND_FLAG, NULL, AT(shuffle), 0, 0,
      "try several endpoints in random order" },
    { C_ONLINE, 0, "--auth-url", KIND_TEXT, "URL", AT(auth_url), 0, 0,
      "the auth service; several with commas [ENSIGN_AUTH_URL; https://auth.rotational.app]" },
    { C_ONLINE, 0, "--proxy", KIND_TEXT, "URL", AT(proxy), 0, 0,
      "http://[user:password@]host:port on the way to both; '' for none [HTTPS_PROXY, ALL_PROXY]" },
    { C_ONLINE, 0, "--no-proxy", KIND_TEXT, "HOSTS", AT(no_proxy), 0, 0,
      "reached without it: names, addresses, networks, with commas [NO_PROXY; this machine]" },
    { C_ONLINE, 'C', "--credentials", KIND_TEXT, "FILE", AT(credentials), 0, 0,
      "a JSON file with ClientID and ClientSecret, as the service hands it out" },
    { C_ONLINE, 0, "--client-id", KIND_TEXT, "ID", AT(client_id), 0, 0, "the API key [ENSIGN_CLIENT_ID]" },
    { C_ONLINE, 0, "--client-secret", KIND_TEXT, "SECRET", AT(client_secret), 0, 0,
      "the secret of that key; other users of this machine can see it in the list of processes "
      "[ENSIGN_CLIENT_SECRET]" },
    { C_ONLINE, 0, "--token", KIND_TEXT, "TOKEN", AT(token), 0, 0, "a bearer token, instead of a key" },
    { C_ONLINE, 0, "--no-auth", KIND_FLAG, NULL, AT(no_auth), 0, 0, "use no key [ENSIGN_NO_AUTHENTICATION]" },
    { C_ONLINE, 0, "--ca-file", KIND_TEXT, "FILE", AT(ca_file), 0, 0,
      "trusted certificates, PEM [ENSIGN_CA_FILE; the system's]" },
    { C_ONLINE, 0, "--server-name", KIND_TEXT, "NAME", AT(server_name), 0, 0,
      "name that the server's certificate must have [the host of the endpoint]" },
    { C_ONLINE, 0, "--authority", KIND_TEXT, "NAME", AT(authority), 0, 0,
      ":authority of requests, for a server or proxy that chooses by it [the endpoint]" },
    { C_ONLINE, 0, "--cert", KIND_TEXT, "FILE", AT(cert_file), 0, 0,
      "our certificate, for an endpoint that asks for one, PEM; needs --cert-key [ENSIGN_CERT_FILE]" },
    { C_ONLINE, 0, "--cert-key", KIND_TEXT, "FILE", AT(key_file), 0, 0,
      "its key, PEM; a password comes from ENSIGN_KEY_PASSWORD alone [ENSIGN_KEY_FILE]" },
    { C_ONLINE, 0, "--min-tls", KIND_CHOICE, "1.2|1.3", AT(min_tls), 0, 0,
      "lowest TLS version; mbedTLS 2.28 lacks 1.3 [ENSIGN_MIN_TLS; 1.2]" },
    { C_ONLINE, 0, "--plaintext", KIND_FLAG, NULL, AT(plaintext), 0, 0,
      "no TLS to the endpoint [ENSIGN_INSECURE]" },
    { C_ONLINE, 0, "--allow-plaintext-token", KIND_FLAG, NULL, AT(allow_plaintext_token), 0, 0,
      "send key and token without TLS to other machines, too" },
    { C_ONLINE, 0, "--insecure-skip-verify", KIND_FLAG, NULL, AT(insecure_skip_verify), 0, 0,
      "accept any certificate: anybody on the way can read along" },
    { C_ONLINE, 0, "--name", KIND_TEXT, "NAME", AT(name), 0, 0, "who publishes, as subscribers see it" },
    { C_ONLINE, 0, "--connect-timeout", KIND_MS, "TIME", AT(connect_timeout_ms), 1, UINT32_MAX - 1,
      "limit of one attempt to connect [20s]" },
    { C_ONLINE, 0, "--request-timeout", KIND_MS, "TIME", AT(request_timeout_ms), 1, UINT32_MAX - 1,
      "limit of one question to the server [30s]" },
    { C_ONLINE, 0, "--keepalive", KIND_MS, "TIME", AT(keepalive_ms), 1000, UINT32_MAX - 1,
      "send an HTTP/2 PING when nothing has come for this time [320s: publish, subscribe, health --watch]" },
    { C_ONLINE, 0, "--open-timeout", KIND_MS, "TIME", AT(open_timeout_ms), 1, UINT32_MAX - 1,
      "limit of the time until the server has opened a stream; then another one is tried [30s]" },
    { C_ONLINE, 0, "--retry", KIND_MS, "TIME", AT(retry_ms), 0, UINT32_MAX - 1,
      "how long to go on when the server cannot be reached [0; publish and subscribe without end, once they "
      "were connected]" },
};

static const option_table_t tables[] = { { known, COUNT_OF(known) }, { connection, COUNT_OF(connection) } };

static const char exits_text[] =
    "Exit status: 0 done; 1 refused by the server, or not healthy; 2 used wrongly, or wrong input;\n"
    "3 no connection, or UNAVAILABLE; 4 wrong key or no permission; 5 no such topic, group, service or\n"
    "method; 6 the time was up; 130 ended by ^C, 143 by SIGTERM; 141 nobody reads standard output.\n";

static const char top_text[] =
    "TIME is a number of seconds, or has a unit: 300ms, 2s, 5m, 1h. TOPIC is a name or an id.\n"
    "Options can stand before and behind a command; -- ends them. The first of these counts that gives a\n"
    "setting: an option, the file of --credentials, the profile of --profile, the environment. The key of\n"
    "the environment does not go to a profile's server if ENSIGN_ENDPOINT names another one.\n"
    "\n";

const command_t *command_find(const char *name)
{
    for (const command_t *c = commands; c->name; c++)
        if (strcmp(c->name, name) == 0) return c;
    return NULL;
}

/* ---- help */

static bool has_subcommands(const command_t *c)
{
    return c->run == NULL;
}

static bool is_subcommand(const command_t *c, const command_t *of)
{
    size_t n = strlen(of->name);
    return strncmp(c->name, of->name, n) == 0 && c->name[n] == ' ';
}

/* Text from column `at` on, in lines of at most 100. */
static void help_wrapped(const char *text, int at)
{
    int column = at;

    while (*text != '\0') {
        int n = (int)strcspn(text, " ");
        if (column > at && column + 1 + n > 100) {
            out_format("\n%*s", at, "");
            column = at;
        } else if (column > at) {
            out_text(" ");
            column++;
        }
        out_bytes(text, (size_t)n);
        column += n;
        text += n + (text[n] == ' ');
    }
    out_text("\n");
}

static void help_option(const option_t *k)
{
    char left[80];
    int n = snprintf(left, sizeof left, "  %c%c%c %s%s%s", k->letter ? '-' : ' ', k->letter ? k->letter : ' ',
                     k->letter ? ',' : ' ', k->name, k->value ? " " : "", k->value ? k->value : "");

    out_format(n < 31 ? "%-31s" : "%s\n%31s", left, "");
    help_wrapped(k->help, 31);
}

static void help_options(const char *title, const option_t *from, size_t count, uint32_t bit)
{
    bool any = false;

    for (size_t i = 0; i < count; i++) {
        if (!(from[i].commands & bit)) continue;
        if (!any) out_format("\n%s%s%s\n", out_color("1"), title, out_color("0"));
        any = true;
        help_option(&from[i]);
    }
}

static void help_commands(const command_t *of)
{
    out_format("\n%sCommands%s\n", out_color("1"), out_color("0"));
    for (const command_t *c = commands; c->name; c++) {
        bool sub = strchr(c->name, ' ') != NULL;
        if (of ? !is_subcommand(c, of) : sub) continue;
        out_format("  %-26s  ", c->name);
        help_wrapped(c->brief, 30);
    }
}

static void help_command(const command_t *c)
{
    out_format("%sensign %s%s - %s\n\n", out_color("1"), c->name, out_color("0"), c->brief);
    out_format("    ensign %s %s%s[option...]\n", c->name, c->args, c->args[0] != '\0' ? " " : "");
    if (c->text) out_format("\n%s", c->text);
    if (has_subcommands(c)) {
        help_commands(c);
        out_format("\nensign %s COMMAND --help tells more.\n", c->name);
        return;
    }
    help_options("Options", known, COUNT_OF(known), c->bit);
    help_options("Connection", connection, COUNT_OF(connection), c->bit);
    out_text("\n");
    out_text(exits_text);
}

static void help_top(void)
{
    out_format("%sensign%s - publish and read events of an Ensign server, and call any gRPC server\n\n",
               out_color("1"), out_color("0"));
    out_text(
        "    ensign COMMAND [argument...] [option...]\n    ensign COMMAND --help\n    ensign --version\n");
    help_commands(NULL);
    help_options("Connection, of all of them", connection, COUNT_OF(connection), C_ONLINE);
    out_text("\n");
    out_text(top_text);
    out_text(exits_text);
}

/* For the tests of the completions and of the manual page. */
static void help_words(void)
{
    for (const command_t *c = commands; c->name; c++) {
        out_format("%s\n", c->name);
        for (size_t t = 0; t < COUNT_OF(tables); t++) {
            for (size_t i = 0; i < tables[t].count; i++) {
                const option_t *k = &tables[t].rows[i];
                if (!(k->commands & c->bit)) continue;
                out_format("%s\t%s\t%s\n", c->name, k->name, k->value ? k->value : "");
                if (k->letter) out_format("%s\t-%c\t%s\n", c->name, k->letter, k->value ? k->value : "");
            }
        }
    }
}

int run_help(const options_t *o)
{
    char name[64];
    const command_t *c;

    if (o->words) return help_words(), EXIT_DONE;
    if (o->args.count == 0) return help_top(), EXIT_DONE;
    snprintf(name, sizeof name, "%s%s%s", o->args.at[0], o->args.count > 1 ? " " : "",
             o->args.count > 1 ? o->args.at[1] : "");
    c = command_find(name);
    if (!c) return options_refuse(NULL, "ensign has no command %s; ensign --help lists the commands", name);
    help_command(c);
    return EXIT_DONE;
}

/* ---- reading */

int options_refuse(const options_t *o, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (o && o->command) complain("%s: %s", o->command->name, text);
    else complain("%s", text);
    return EXIT_USAGE;
}

/* How many words of argv the option takes: 1 or 2. That is the same with all commands. */
static int option_span(const char *arg)
{
    const option_t *k = option_find(tables, COUNT_OF(tables), ~0u, arg);

    if (!k || !option_has_value(k)) return 1;
    if (arg[1] == '-') return strchr(arg, '=') ? 1 : 2;
    return arg[2] != '\0' ? 1 : 2;
}

/* Finds the words of the command among the options: argv's places of them, 0: none. */
static const command_t *find_command(int argc, char **argv, int *first, int *second)
{
    const command_t *c = NULL;
    char name[64];

    *first = *second = 0;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0;
         i += option_like(argv[i]) ? option_span(argv[i]) : 1) {
        if (option_like(argv[i])) continue;
        if (*first == 0) {
            *first = i;
            c = command_find(argv[i]);
            if (!c || !has_subcommands(c)) return c;
        } else {
            snprintf(name, sizeof name, "%s %s", c->name, argv[i]);
            *second = i;
            return command_find(name);
        }
    }
    return c;
}

static void list_add(list_t *l, const char *text)
{
    l->at = x_realloc(l->at, (l->count + 1) * sizeof *l->at);
    l->at[l->count++] = text;
}

/* "a,b,c" */
static void list_split(list_t *l, const char *text)
{
    char *copy = x_keep_text(text, strlen(text)), *save = NULL;

    for (char *word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) list_add(l, word);
}

/* From 1 on; 0: it is none of them */
static int choice_of(const char *words, const char *text)
{
    size_t len = strlen(text), n;

    for (int i = 1; *words != '\0'; i++, words += n + (words[n] == '|')) {
        n = strcspn(words, "|");
        if (n == len && memcmp(words, text, n) == 0) return i;
    }
    return 0;
}

static bool store_number(options_t *o, const option_t *k, const char *value)
{
    uint64_t *to = (uint64_t *)(void *)((char *)o + k->at);

    if (k->kind == KIND_MS) {
        bool timed = text_to_ms(value, to);
        if (timed && *to >= k->least && *to <= k->most) return true;
        if (timed && *to < k->least)
            options_refuse(o, "%s %s: %" PRIu64 "ms is the least", k->name, value, k->least);
        else if (timed)
            options_refuse(o, "%s %s: %" PRIu64 "ms is the most", k->name, value, k->most);
        else
            options_refuse(o, "%s %s is not a time; give seconds, or a number with a unit: 300ms, 2s, 5m, 1h",
                           k->name, value);
        return false;
    }
    if (text_to_u64(value, to) && *to >= k->least && *to <= k->most) return true;
    if (k->most == UINT64_MAX) {
        options_refuse(o, "%s %s: give a whole number from %" PRIu64 " on", k->name, value, k->least);
    } else {
        options_refuse(o, "%s %s: give a whole number from %" PRIu64 " to %" PRIu64, k->name, value, k->least,
                       k->most);
    }
    return false;
}

bool options_store(options_t *o, const option_t *k, const char *value)
{
    void *at = (char *)o + k->at;

    if (option_keep(o, k, value)) return true;
    switch (k->kind) {
    case KIND_LIST:
        list_add(at, value);
        return true;
    case KIND_WORDS:
        list_split(at, value);
        return true;
    case KIND_NUMBER:
    case KIND_MS:
        if (k->at == AT(retry_ms)) o->retry_given = true;
        return store_number(o, k, value);
    case KIND_REAL:
        if (text_to_double(value, at) && *(double *)at > 0) return true;
        options_refuse(o, "%s %s: give a number above 0", k->name, value);
        return false;
    case KIND_CHOICE:
        *(int *)at = choice_of(k->value, value);
        if (*(int *)at > 0) return true;
        options_refuse(o, "%s %s: give one of %s", k->name, value, k->value);
        return false;
    default:
        return false;
    }
}

const option_t *options_connection(const char *name)
{
    const option_t *k = connection;

    while (strcmp(k->name, name) != 0) k++;
    return k;
}

bool options_given(const options_t *o, const option_t *k)
{
    const void *at = (const char *)o + k->at;

    if (k->kind == KIND_FLAG) return *(const bool *)at;
    if (k->kind == KIND_CHOICE) return *(const int *)at > 0;
    return *(const char *const *)at != NULL;
}

static void refuse_unknown(const options_t *o, const arg_t *arg)
{
    const char *name = o->command ? o->command->name : "", *space = name[0] != '\0' ? " " : "";
    const char one[3] = { '-', arg->letter, '\0' }, *option = arg->letter ? one : arg->text;
    int len = arg->letter ? 2 : (int)strcspn(option, "=");
    char two[64];

    snprintf(two, sizeof two, "-%s", arg->text);
    if (arg->letter && arg->text[2] != '\0' && option_find(tables, COUNT_OF(tables), ~0u, two)) {
        options_refuse(o, "there is no option %s; a long option has two dashes: %s", arg->text, two);
        return;
    }
    if (arg->letter == 'd' && o->command && o->command->run == run_call) {
        options_refuse(o, "there is no option -d here; messages are arguments: ensign %s %s", name,
                       o->command->args);
        return;
    }
    options_refuse(o, "there is no option %.*s here; see ensign %s%s--help", len, option, name, space);
}

static bool read_one(options_t *o, const arg_t *arg)
{
    const char one[3] = { '-', arg->letter, '\0' };

    switch (arg->kind) {
    case ARG_WORD:
        list_add(&o->args, arg->text);
        return true;
    case ARG_OPTION: return options_store(o, arg->option, arg->value);
    case ARG_UNKNOWN:
        refuse_unknown(o, arg);
        return false;
    case ARG_UNWANTED:
        options_refuse(o, "%s takes no value; leave out %s", arg->option->name, arg->value);
        return false;
    case ARG_MISSING:
        options_refuse(o, "%s needs a value behind it: %s", arg->letter ? one : arg->option->name,
                       arg->option->value);
        return false;
    }
    return false;
}

static bool read_all(options_t *o, int argc, char **argv, int first, int second)
{
    uint32_t bit = o->command && !has_subcommands(o->command) ? o->command->bit : (uint32_t)C_HELP;
    args_t all = { argc, argv, tables, COUNT_OF(tables), bit, 1, NULL, false };
    arg_t arg;

    while (args_next(&all, &arg)) {
        bool of_command = arg.kind == ARG_WORD && (arg.place == first || arg.place == second);
        if (!of_command && !read_one(o, &arg)) return false;
    }
    return true;
}

static int check_args(const options_t *o)
{
    const command_t *c = o->command;

    if (has_subcommands(c))
        return options_refuse(o, "a command must follow; ensign %s --help lists the commands", c->name);
    if (o->args.count < c->least)
        return options_refuse(o, "an argument is missing: ensign %s %s", c->name, c->args);
    if (o->args.count > c->most)
        return options_refuse(o, "\"%s\" is too much: ensign %s %s", o->args.at[c->most], c->name, c->args);
    return EXIT_DONE;
}

static int no_command(const options_t *o, const char *word, const char *second)
{
    if (second)
        return options_refuse(o, "%s has no command %s; ensign %s --help lists the commands", word, second,
                              word);
    if (word) return options_refuse(o, "ensign has no command %s; ensign --help lists the commands", word);
    return options_refuse(o, "give a command; ensign --help lists the commands");
}

static bool wants_version(int argc, char **argv)
{
    for (int i = 1; i < argc && option_like(argv[i]) && strcmp(argv[i], "--") != 0; i += option_span(argv[i]))
        if (strcmp(argv[i], "--version") == 0 || strcmp(argv[i], "-V") == 0) return true;
    return false;
}

int options_read(options_t *o, int argc, char **argv, bool *done)
{
    int first, second, status;

    memset(o, 0, sizeof *o);
    o->close_timeout_ms = 10000;
    o->events = 100000;
    o->size = 128;
    o->trips = 1000;
    output_setup(COLOR_AUTO, false);
    *done = true;
    if (wants_version(argc, argv)) return out_text("ensign " ENSIGN_VERSION "\n"), EXIT_DONE;
    o->command = find_command(argc, argv, &first, &second);
    if (first > 0 && !o->command) return no_command(o, argv[first], second ? argv[second] : NULL);
    if (!read_all(o, argc, argv, first, second)) return EXIT_USAGE;
    output_setup(o->color > 0 ? (color_t)(o->color - 1) : COLOR_AUTO, o->quiet);
    if (o->help && o->command) return help_command(o->command), EXIT_DONE;
    if (o->help) return help_top(), EXIT_DONE;
    if (!o->command) return no_command(o, NULL, NULL);
    *done = false;
    status = check_args(o);
    return status == EXIT_DONE && o->profile ? profile_read(o) : status;
}
