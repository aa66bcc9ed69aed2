/* profile.c - see profile.h */
#include "profile.h"
#include "input.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
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
    bool   taken[GROUPS];       /* by the command line or the environment */
    bool   seen[COUNT_OF(known)];
} profile_t;

/* ---- what goes before */

static bool is_set(const char *text)
{
    return text && text[0] != '\0';
}

/* As the library reads it: empty, 0, n, f, no, false and off say no. */
static bool environment_wants_no_key(void)
{
    const char *v = getenv("ENSIGN_NO_AUTHENTICATION");
    return is_set(v) && !strchr("0nNfF", v[0]) && strcasecmp(v, "off") != 0;
}

/* The library tells what it finds in the environment. A variable that is wrong it will tell again. */
static void note_environment(bool taken[GROUPS])
{
    ensign_desc_t d;
    ensign_error_t why;

    memset(&d, 0, sizeof d);
    if (ensign_desc_env(&d, &why) != ENSIGN_OK) return;
    taken[GROUP_ENDPOINT] = is_set(d.endpoint);
    taken[GROUP_AUTH_URL] = is_set(d.auth_url);
    taken[GROUP_KEY] = is_set(d.client_id) || is_set(d.client_secret) || environment_wants_no_key();
    taken[GROUP_CA] = is_set(d.tls.ca_file);
    taken[GROUP_CERTIFICATE] = is_set(d.tls.cert_file) || is_set(d.tls.key_file);
    taken[GROUP_MIN_TLS] = d.tls.min_version != 0;
    taken[GROUP_PLAINTEXT] = d.tls.off;
    taken[GROUP_PROXY] = is_set(d.proxy);
    taken[GROUP_NO_PROXY] = is_set(d.no_proxy);
}

static void note_taken(profile_t *p)
{
    note_environment(p->taken);
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

static bool wrong(const profile_t *p, const char *what)
{
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
    return strcmp(value, "false") == 0 || wrong(p, "this one is true or false");
}

static bool store_line(profile_t *p, size_t i, const char *value)
{
    const option_t *k = options_connection(known[i].option);
    value_t kind = known[i].value;

    if (p->seen[i]) return wrong(p, "the profile says that twice; leave one line out");
    p->seen[i] = true;
    if (value[0] == '\0') return wrong(p, "a value is missing behind the =");
    if (kind == VALUE_SECRET || (kind == VALUE_PROXY && strchr(value, '@'))) p->secret = true;
    if (p->taken[known[i].group]) return true;
    if (k->kind == KIND_FLAG) return store_flag(p, k, value);
    return options_store(p->o, k, kind == VALUE_PATH ? whole_path(p, value) : value) ||
           wrong(p, "its value is not one that the option takes");
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
    return wrong(p, "there is no setting of this name; it is that of a connection option without its dashes: "
                    "endpoint, auth-url, credentials, client-id, client-secret, token, no-auth, ca-file, "
                    "server-name, cert, cert-key, min-tls, plaintext, proxy or no-proxy");
}

static void begin_profile(profile_t *p, const char *name, size_t len)
{
    size_t at = strlen(p->names);

    p->inside = strlen(p->o->profile) == len && strncmp(p->o->profile, name, len) == 0;
    p->found = p->found || p->inside;
    snprintf(p->names + at, sizeof p->names - at, "%s%.*s", at > 0 ? ", " : "", (int)len, name);
}

/* Only the lines of the wanted profile have to be right. */
static bool read_line(profile_t *p, char *line)
{
    size_t len = strlen(line);

    while (len > 0 && isspace((unsigned char)line[len - 1])) line[--len] = '\0';
    while (isspace((unsigned char)*line)) line++, len--;
    if (line[0] == '[' && len > 2 && line[len - 1] == ']') {
        begin_profile(p, line + 1, len - 2);
        return true;
    }
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
        return options_refuse(o, "--profile: %s has no profile %s; it has %s", p.path, o->profile,
                              p.names[0] != '\0' ? p.names : "none");
    if (p.secret && (stat(p.path, &st) != 0 || (st.st_mode & (S_IRWXG | S_IRWXO)) != 0))
        return options_refuse(o, "--profile: %s holds a secret, and others can read it; run  chmod 600 %s",
                              p.path, p.path);
    return EXIT_DONE;
}
