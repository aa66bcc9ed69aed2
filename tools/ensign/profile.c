/* profile.c - see profile.h */
#include "profile.h"
#include "input.h"
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PROFILE_MAX (1u << 20)      /* bytes of the file */
#define BYTE_ORDER_MARK "\xEF\xBB\xBF" /* some editors begin a file so */

/* What is one thing: of a group all lines count, or none does. */
typedef enum {
    GROUP_ENDPOINT, GROUP_AUTH_URL, GROUP_KEY, GROUP_CA, GROUP_SERVER_NAME, GROUP_CERTIFICATE, GROUP_MIN_TLS,
    GROUP_PLAINTEXT, GROUP_PROXY, GROUP_NO_PROXY, GROUPS
} group_t;

typedef enum { VALUE_PLAIN, VALUE_PATH, VALUE_SECRET, VALUE_PROXY } value_t;

static const struct { const char *option; group_t group; value_t value; } known[] = {
    { "--endpoint", GROUP_ENDPOINT, VALUE_PLAIN },
    { "--auth-url", GROUP_AUTH_URL, VALUE_PLAIN },
    { "--credentials", GROUP_KEY, VALUE_PATH },
    { "--client-id", GROUP_KEY, VALUE_PLAIN },
    { "--client-secret", GROUP_KEY, VALUE_SECRET },
    { "--token", GROUP_KEY, VALUE_SECRET },
    { "--no-auth", GROUP_KEY, VALUE_PLAIN },
    { "--ca-file", GROUP_CA, VALUE_PATH },
    { "--server-name", GROUP_SERVER_NAME, VALUE_PLAIN },
    { "--cert", GROUP_CERTIFICATE, VALUE_PATH },
    { "--cert-key", GROUP_CERTIFICATE, VALUE_PATH },
    { "--min-tls", GROUP_MIN_TLS, VALUE_PLAIN },
    { "--plaintext", GROUP_PLAINTEXT, VALUE_PLAIN },
    { "--proxy", GROUP_PROXY, VALUE_PROXY },
    { "--no-proxy", GROUP_NO_PROXY, VALUE_PLAIN },
};

typedef struct profile_t {
    options_t *o;
    char  *path, *folder;       /* of the file; kept */
    char   names[200];          /* of its profiles, for an error */
    size_t line;
    bool   inside, found;       /* in the profile that is wanted; it was there */
    bool   secret;              /* it holds one */
    bool   taken[GROUPS];       /* by the command line */
    bool   seen[COUNT_OF(known)];
} profile_t;

/* ---- what goes before */

static bool is_set(const char *text)
{
    return text && text[0] != '\0';
}

static void note_taken(profile_t *p)
{
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (options_given(p->o, options_connection(known[i].option))) p->taken[known[i].group] = true;
}

/* ---- the file */

static bool find_file(profile_t *p)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME"), *below = "";
    size_t len;

    if (!config || config[0] != '/') { /* a relative one does not count, says XDG */
        config = home;
        below = "/.config";
    }
    if (!is_set(config)) {
        options_refuse(p->o, "--profile: where are the profiles? Set HOME or XDG_CONFIG_HOME");
        return false;
    }
    len = strlen(config) + strlen(below) + sizeof "/ensign/profiles";
    p->path = x_keep(x_realloc(NULL, len));
    snprintf(p->path, len, "%s%s/ensign/profiles", config, below);
    p->folder = x_keep_text(p->path, strlen(p->path) - strlen("/profiles"));
    return true;
}

static bool wrong(const profile_t *p, const char *format, ...)
{
    char what[512];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    complain("%s: line %zu: %s", p->path, p->line, what);
    return false;
}

/* Where the path leads; kept. */
static const char *whole_path(const profile_t *p, const char *value)
{
    const char *front = p->folder;
    size_t len;
    char *path;

    if (value[0] == '/') return value;
    if (strncmp(value, "~/", 2) == 0 && is_set(getenv("HOME"))) {
        front = getenv("HOME");
        value += 2;
    }
    len = strlen(front) + strlen(value) + 2;
    path = x_keep(x_realloc(NULL, len));
    snprintf(path, len, "%s/%s", front, value);
    return path;
}

static bool store_flag(const profile_t *p, const option_t *k, const char *value)
{
    if (strcmp(value, "true") == 0) return options_store(p->o, k, NULL);
    if (strcmp(value, "false") != 0) return wrong(p, "%s is true or false", k->name + 2);
    if (k == options_connection("--plaintext")) p->o->with_tls = true;
    return true;
}

static bool is_quoted(const char *value)
{
    size_t len = strlen(value);
    return len > 1 && (value[0] == '"' || value[0] == '\'') && value[len - 1] == value[0];
}

static bool store_line(profile_t *p, size_t i, const char *value)
{
    const option_t *k = options_connection(known[i].option);
    value_t kind = known[i].value;

    if (p->seen[i]) return wrong(p, "the profile has %s twice; leave one line out", k->name + 2);
    p->seen[i] = true;
    if (value[0] == '\0') return wrong(p, "the value of %s is missing behind the =", k->name + 2);
    if (strstr(value, " #")) return wrong(p, "put the comment behind %s on a line of its own", k->name + 2);
    if (is_quoted(value)) return wrong(p, "leave out the quotes around the value of %s", k->name + 2);
    if (kind == VALUE_SECRET || (kind == VALUE_PROXY && strchr(value, '@'))) p->secret = true;
    if (p->taken[known[i].group]) return true;
    if (known[i].group == GROUP_ENDPOINT) p->o->profile_endpoint = true;
    if (k->kind == KIND_FLAG) return store_flag(p, k, value);
    return options_store(p->o, k, kind == VALUE_PATH ? whole_path(p, value) : value) ||
           wrong(p, "the option %s does not take this value", k->name);
}

/* "NAME = VALUE" */
static bool read_setting(profile_t *p, char *line)
{
    char *equals = strchr(line, '='), *end;

    if (!equals) return wrong(p, "give NAME = VALUE, or [PROFILE]");
    for (end = equals; end > line && isspace((unsigned char)end[-1]);) end--;
    *end = '\0';
    for (equals++; isspace((unsigned char)*equals);) equals++;
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (strcmp(line, known[i].option + 2) == 0) return store_line(p, i, equals);
    return wrong(p, "a profile has no setting %.60s; it has these options without their dashes: endpoint, "
                    "auth-url, credentials, client-id, client-secret, token, no-auth, ca-file, "
                    "server-name, cert, cert-key, min-tls, plaintext, proxy and no-proxy", line);
}

static bool begin_profile(profile_t *p, const char *name, size_t len)
{
    size_t at = strlen(p->names);

    p->inside = strlen(p->o->profile) == len && strncmp(p->o->profile, name, len) == 0;
    if (p->inside && p->found)
        return wrong(p, "the profile %s begins here again; put all of its lines under one [%s]",
                     p->o->profile, p->o->profile);
    p->found = p->found || p->inside;
    snprintf(p->names + at, sizeof p->names - at, "%s%.*s", at > 0 ? ", " : "", (int)len, name);
    return true;
}

/* Only the lines of the wanted profile have to be right. */
static bool read_line(profile_t *p, char *line)
{
    size_t len = strlen(line);

    while (len > 0 && isspace((unsigned char)line[len - 1])) line[--len] = '\0';
    while (isspace((unsigned char)*line)) line++, len--;
    if (line[0] == '[' && len > 2 && line[len - 1] == ']') return begin_profile(p, line + 1, len - 2);
    return line[0] == '\0' || line[0] == '#' || !p->inside || read_setting(p, line);
}

static bool read_file(profile_t *p)
{
    struct stat st;
    uint8_t *bytes;
    size_t len;
    bool ok = true;
    char *line, *end;           /* kept: values of options stand there */

    if (!input_there(p->path)) return false;
    if (stat(p->path, &st) != 0 || !S_ISREG(st.st_mode)) { /* to open a pipe could wait for ever */
        options_refuse(p->o, "--profile: %s is no regular file", p->path);
        return false;
    }
    if (!input_whole(p->path, PROFILE_MAX, "a file of profiles may have", &bytes, &len)) return false;
    line = x_keep(x_realloc(bytes, len + 1));
    line[len] = '\0';
    if (strlen(line) < len) {
        options_refuse(p->o, "--profile: %s holds a zero byte; it has to be text", p->path);
        return false;
    }
    if (strncmp(line, BYTE_ORDER_MARK, strlen(BYTE_ORDER_MARK)) == 0) line += strlen(BYTE_ORDER_MARK);
    for (; ok && line; line = end) {
        end = strchr(line, '\n');
        if (end) *end++ = '\0';
        p->line++;
        ok = read_line(p, line);
    }
    return ok;
}

int profile_read(options_t *o)
{
    profile_t p;
    struct stat st;

    memset(&p, 0, sizeof p);
    p.o = o;
    note_taken(&p);
    if (!find_file(&p) || !read_file(&p)) return EXIT_USAGE;
    if (!p.found)
        return options_refuse(o, "--profile: %s has no profile %s; %s%s", p.path, o->profile,
                              p.names[0] != '\0' ? "it has " : "write its lines under ",
                              p.names[0] != '\0' ? p.names : "[NAME]");
    if (p.secret && (stat(p.path, &st) != 0 || (st.st_mode & (S_IRWXG | S_IRWXO)) != 0))
        return options_refuse(o, "--profile: %s holds a secret, and others can read it; run  chmod 600 %s",
                              p.path, p.path);
    return EXIT_DONE;
}
