/* keys.c - see keys.h */
#include "keys.h"
#include "log_now.h"
#include <jansson.h>
#include <mbedtls/md.h>
#include <stdlib.h>
#include <string.h>

const char *const permission_names[PERM_COUNT] = {
    "topics:create", "topics:edit", "topics:destroy", "topics:read", "metrics:read", "publisher", "subscriber"
};

unsigned permission_bit(const char *name)
{
    for (unsigned i = 0; i < PERM_COUNT; i++)
        if (strcmp(name, permission_names[i]) == 0) return 1u << i;
    return 0;
}

/* Ids that a file leaves out come from its names, so that a restart with the same file finds the same
   topics. */
static ulid_t id_from_text(const char *kind, const char *text)
{
    unsigned char digest[32];
    buf_t b = { NULL, 0, 0, 0 };
    ulid_t id;

    buf_put(&b, kind, strlen(kind) + 1);
    buf_put(&b, text, strlen(text));
    mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), b.ptr, buf_len(&b), digest);
    buf_free(&b);
    digest[0] = 0;      /* a date that a reader of the id can believe to be one */
    memcpy(id.b, digest, sizeof id.b);
    return id;
}

static bool read_id(json_t *object, const char *field, const char *kind, const char *name, ulid_t *out,
                    why_t *why)
{
    json_t *v = json_object_get(object, field);

    *out = id_from_text(kind, name);
    if (!v) return true;
    if (json_is_string(v) && ulid_parse(slice_text(json_string_value(v)), out)) return true;
    return fail(why, "\"%s\" of \"%s\" is no ULID; give 26 characters of 0-9 and A-Z, or leave it out", field,
                name);
}

static bool read_permissions(json_t *key, const char *client_id, unsigned *out, why_t *why)
{
    json_t *list = json_object_get(key, "permissions"), *item;
    size_t i;

    *out = list ? 0 : PERM_ALL;
    if (list && !json_is_array(list))
        return fail(why, "\"permissions\" of key \"%s\" is no list; give a list of names", client_id);
    json_array_foreach(list, i, item) {
        unsigned bit = json_is_string(item) ? permission_bit(json_string_value(item)) : 0;
        if (!bit)
            return fail(why,
                        "key \"%s\" has a permission that there is not: %s; there are topics:create, "
                        "topics:edit, topics:destroy, topics:read, metrics:read, publisher, subscriber",
                        client_id, json_is_string(item) ? json_string_value(item) : "(no text)");
        *out |= bit;
    }
    return true;
}

static bool plain_text(const char *s)
{
    size_t n = s ? strlen(s) : 0;
    for (size_t i = 0; i < n; i++)
        if (s[i] <= ' ' || s[i] > '~' || s[i] == '\'') return false;
    return n >= 1 && n <= 255;
}

static void add_key(keyring_t *r, const api_key_t *k)
{
    r->keys = x_realloc(r->keys, (r->count + 1) * sizeof *r->keys);
    r->keys[r->count++] = *k;
}

bool api_key_read(json_t *key, api_key_t *out, why_t *why)
{
    const char *id = json_string_value(json_object_get(key, "client_id"));
    const char *secret = json_string_value(json_object_get(key, "client_secret"));

    memset(out, 0, sizeof *out);
    if (!plain_text(id) || !plain_text(secret))
        return fail(why,
                    "a key needs \"client_id\" and \"client_secret\", each 1 to 255 visible ASCII characters "
                    "without ' and spaces; this one has client_id \"%s\"", id ? id : "(none)");
    if (!read_permissions(key, id, &out->permissions, why)) return false;
    out->client_id = x_strdup(id);
    out->client_secret = x_strdup(secret);
    return true;
}

void api_key_free(api_key_t *k)
{
    free(k->client_id);
    free(k->client_secret);
}

static bool read_key(keyring_t *r, json_t *key, const ulid_t *project, const ulid_t *org, why_t *why)
{
    api_key_t k;
    bool ok;

    if (!api_key_read(key, &k, why)) return false;
    ok = !keyring_by_client(r, k.client_id) ||
         fail(why, "client_id \"%s\" stands there twice; each key needs its own", k.client_id);
    if (!ok || !read_id(key, "id", "key", k.client_id, &k.id, why)) {
        api_key_free(&k);
        return false;
    }
    k.project = *project;
    k.org = *org;
    add_key(r, &k);
    return true;
}

static bool read_project(keyring_t *r, json_t *project, why_t *why)
{
    const char *name = json_string_value(json_object_get(project, "name"));
    json_t *keys = json_object_get(project, "keys"), *key;
    ulid_t id, org;
    size_t i;

    if (!name || !*name) return fail(why, "a project needs a \"name\"; give it one, any text");
    if (!json_is_array(keys)) return fail(why, "project \"%s\" needs \"keys\", a list of API keys", name);
    if (!read_id(project, "id", "project", name, &id, why) ||
        !read_id(project, "org", "org", name, &org, why))
        return false;
    json_array_foreach(keys, i, key)
        if (!read_key(r, key, &id, &org, why)) return false;
    return true;
}

static bool read_document(keyring_t *r, json_t *root, why_t *why)
{
    json_t *projects = json_object_get(root, "projects"), *project;
    size_t i;

    if (!json_is_array(projects)) return fail(why, "\"projects\", a list, is missing; see ensignd --help");
    json_array_foreach(projects, i, project)
        if (!read_project(r, project, why)) return false;
    return r->count > 0 || fail(why, "it has no key; give one project at least one key");
}

bool keyring_read_file(keyring_t *r, const char *path, why_t *why)
{
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);
    why_t inner;
    bool ok;

    memset(r, 0, sizeof *r);
    if (!root) {
        if (error.line < 1)
            return fail(why, "--keys %s: %s; name a file that can be read", path, error.text);
        return fail(why, "--keys %s, line %d, column %d: %s; mend the JSON", path, error.line, error.column,
                    error.text);
    }
    ok = read_document(r, root, &inner);
    if (!ok) fail(why, "--keys %s: %s", path, inner.text);
    json_decref(root);
    return ok;
}

static char *random_text(size_t n, const char *alphabet, size_t letters)
{
    char *s = x_alloc(n + 1);
    uint8_t b;

    for (size_t i = 0; i < n;) {
        if (!random_bytes(&b, 1)) break;
        if (b < 256 - 256 % letters)
            s[i++] = alphabet[b % letters]; /* others would favour the first letters */
    }
    return s;
}

/* In the project of another key; NULL: in one of its own. */
static api_key_t make_key(const api_key_t *beside, unsigned permissions)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    api_key_t k;

    memset(&k, 0, sizeof k);
    k.org = beside ? beside->org : ulid_new();
    k.project = beside ? beside->project : ulid_new();
    k.id = ulid_new();
    k.client_id = random_text(32, alphabet, 52);
    k.client_secret = random_text(64, alphabet, 62);
    k.permissions = permissions;
    return k;
}

static const char key_prefix[] = "key/";

/* Stored as JSON under the key's ULID, in the clear: --env-file has to give the secret again after a
   restart. */
bool api_key_keep(log_t *l, const api_key_t *k, why_t *why)
{
    uint8_t key[sizeof key_prefix - 1 + sizeof k->id.b];
    char project[ULID_TEXT + 1], org[ULID_TEXT + 1], *text;
    json_t *o;
    bool ok;

    ulid_text(&k->project, project);
    ulid_text(&k->org, org);
    o = json_pack("{s:s, s:s, s:s, s:s, s:i}", "client_id", k->client_id, "client_secret", k->client_secret,
                  "project", project, "org", org, "permissions", (int)k->permissions);
    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    memcpy(key, key_prefix, sizeof key_prefix - 1);
    memcpy(key + sizeof key_prefix - 1, k->id.b, sizeof k->id.b);
    ok = log_put_now(l, slice_of(key, sizeof key), slice_text(text), why);
    free(text);
    return ok;
}

static ensign_slice_t id_of(ensign_slice_t key)
{
    return slice_of(key.ptr + sizeof key_prefix - 1, key.len - (sizeof key_prefix - 1));
}

static bool load_key(void *user, ensign_slice_t key, ensign_slice_t value)
{
    keyring_t *r = user;
    json_t *o = json_loadb((const char *)value.ptr, value.len, 0, NULL);
    const char *id, *secret, *project, *org;
    int permissions;
    api_key_t k;

    memset(&k, 0, sizeof k);
    if (o &&
        json_unpack(o, "{s:s, s:s, s:s, s:s, s:i}", "client_id", &id, "client_secret", &secret, "project",
                    &project, "org", &org, "permissions", &permissions) == 0 &&
        ulid_from(id_of(key), &k.id) && ulid_parse(slice_text(project), &k.project) &&
        ulid_parse(slice_text(org), &k.org)) {
        k.client_id = x_strdup(id);
        k.client_secret = x_strdup(secret);
        k.permissions = (unsigned)permissions;
        add_key(r, &k);
    }
    json_decref(o);
    return true;
}

static bool make_and_keep(keyring_t *r, log_t *l, const api_key_t *beside, unsigned permissions, why_t *why)
{
    api_key_t k = make_key(beside, permissions);
    add_key(r, &k);
    return api_key_keep(l, &k, why);
}

void keyring_in_log(keyring_t *r, const log_t *l)
{
    memset(r, 0, sizeof *r);
    log_each(l, key_prefix, load_key, r);
}

/* A folder of an older version has the first one only. */
bool keyring_from_log(keyring_t *r, log_t *l, bool *made, why_t *why)
{
    keyring_in_log(r, l);
    *made = r->count == 0;
    return (!*made || make_and_keep(r, l, NULL, PERM_ALL, why)) &&
           (keyring_reader(r) || make_and_keep(r, l, &r->keys[0], PERM_SUBSCRIBER | PERM_TOPICS_READ, why)) &&
           (keyring_other(r) || make_and_keep(r, l, NULL, PERM_ALL, why));
}

api_key_t *keyring_reader(const keyring_t *r)
{
    for (size_t i = 1; i < r->count; i++)
        if (ulid_eq(&r->keys[i].project, &r->keys[0].project) && (r->keys[i].permissions & PERM_SUBSCRIBER) &&
            !(r->keys[i].permissions & PERM_PUBLISHER))
            return &r->keys[i];
    return NULL;
}

api_key_t *keyring_other(const keyring_t *r)
{
    for (size_t i = 1; i < r->count; i++)
        if (!ulid_eq(&r->keys[i].project, &r->keys[0].project)) return &r->keys[i];
    return NULL;
}

api_key_t *keyring_by_client(const keyring_t *r, const char *client_id)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->keys[i].client_id, client_id) == 0) return &r->keys[i];
    return NULL;
}

api_key_t *keyring_by_id(const keyring_t *r, const ulid_t *id)
{
    for (size_t i = 0; i < r->count; i++)
        if (ulid_eq(&r->keys[i].id, id)) return &r->keys[i];
    return NULL;
}

/* In a time that does not tell how much of the secret was right. */
bool secret_matches(const api_key_t *k, const char *secret)
{
    size_t n = strlen(k->client_secret);
    unsigned differ = strlen(secret) != n;

    for (size_t i = 0; !differ && i < n; i++) differ |= (unsigned)(k->client_secret[i] ^ secret[i]) << 8;
    return differ == 0;
}

void keyring_free(keyring_t *r)
{
    for (size_t i = 0; i < r->count; i++) api_key_free(&r->keys[i]);
    free(r->keys);
    memset(r, 0, sizeof *r);
}
