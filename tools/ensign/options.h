/* options.h - the commands and options of ensign: one table of each, from which arguments are read, help is
 * printed, and the completions and the manual page are checked */
#ifndef ENSIGN_CLI_OPTIONS_H
#define ENSIGN_CLI_OPTIONS_H
#include "output.h"
#include "../common/args.h"

enum {                          /* exit status; 128 + N: ended by signal N */
    EXIT_DONE = 0,
    EXIT_FAILED = 1,            /* refused, nacked, or not healthy */
    EXIT_USAGE = 2,
    EXIT_LINK = 3,              /* no connection, or it was lost */
    EXIT_DENIED = 4,            /* no valid key, or no permission */
    EXIT_ABSENT = 5,            /* there is no such topic, group, service or method */
    EXIT_LATE = 6,              /* the time was up */
    EXIT_SIGNAL = 128
};

typedef struct list_t { const char **at; size_t count; } list_t;

typedef struct options_t options_t;

typedef struct command_t {
    const char *name;           /* "topics create" */
    const char *args;           /* as help shows them */
    const char *brief;          /* one line */
    const char *text;           /* what there is to say, in paragraphs; the lines are broken by hand */
    uint32_t    bit;            /* of this command in an option's `commands` */
    unsigned    least, most;    /* arguments */
    int       (*run)(const options_t *o);   /* an exit status; NULL: only its sub-commands do something */
} command_t;

struct options_t {
    const command_t *command;
    list_t args;
    /* connection */
    const char *endpoint, *auth_url, *proxy, *no_proxy, *client_id, *client_secret, *token, *credentials;
    const char *profile, *ca_file, *server_name, *authority, *cert_file, *key_file, *name;
    int  min_tls;               /* 1: 1.2; 2: 1.3; 0: not given */
    bool plaintext, insecure_skip_verify, allow_plaintext_token, no_auth, shuffle;
    bool profile_endpoint;      /* the endpoint is that of the profile */
    bool with_tls;              /* the profile has  plaintext = false */
    uint64_t connect_timeout_ms, request_timeout_ms, open_timeout_ms, keepalive_ms, retry_ms;
    bool retry_given;
    /* output */
    int  color;                 /* color_t */
    bool json, quiet, help, version, words;
    uint64_t verbose;           /* how often it was given */
    /* events */
    list_t files, meta, params, headers, keys, fields;
    const char *lines, *from_json, *mimetype, *type, *key, *group, *filter, *format, *from, *nack_every;
    bool ndjson, raw, null, no_newline, python, full, ensure_topic, include_duplicates, acks;
    bool progress, no_progress, ack, no_ack, resume;
    double rate;
    uint64_t count, timeout_ms, idle_ms, close_timeout_ms;
    /* topics */
    int  dedup, offset;         /* place in the list of choices, from 1 on; 0: not given */
    bool overwrite_duplicate, yes, if_missing;
    /* groups */
    const char *to;
    /* status, health */
    bool auth, watch;
    const char *service;
    /* call */
    int  in, out;               /* form_t */
    uint64_t deadline_ms, attempts, max_message, max_metadata;
    bool no_token, gzip, hex, list, emit_defaults, allow_unknown_fields;
    list_t protos, import_paths, protosets;
    const char *describe, *template_of;
    /* bench */
    uint64_t events, size, trips;
    bool no_subscribe;
};

enum { FORM_DEFAULT, FORM_RAW, FORM_HEX };  /* of --in and --out */

/* EXIT_DONE, or an exit status with what is wrong said. --help and --version are answered there: *done. */
int options_read(options_t *o, int argc, char **argv, bool *done);

/* Says how this command is used wrongly; returns EXIT_USAGE. */
int options_refuse(const options_t *o, const char *format, ...);

/* An option of the connection, by its name with dashes; it must be there. */
const option_t *options_connection(const char *name);
bool options_given(const options_t *o, const option_t *k);
bool options_store(options_t *o, const option_t *k, const char *value);    /* false: said */

extern const command_t commands[];      /* ends with a NULL name */
const command_t *command_find(const char *name);

int run_publish(const options_t *o);
int run_subscribe(const options_t *o);
int run_query(const options_t *o);
int run_topics_ls(const options_t *o);
int run_topics_show(const options_t *o);
int run_topics_create(const options_t *o);
int run_topics_exists(const options_t *o);
int run_topics_archive(const options_t *o);
int run_topics_rm(const options_t *o);
int run_topics_policy(const options_t *o);
int run_groups_ls(const options_t *o);
int run_groups_show(const options_t *o);
int run_groups_rm(const options_t *o);
int run_groups_reset(const options_t *o);
int run_info(const options_t *o);
int run_status(const options_t *o);
int run_health(const options_t *o);
int run_call(const options_t *o);
int run_bench(const options_t *o);
int run_help(const options_t *o);
#endif
