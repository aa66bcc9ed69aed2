/* keys.c - see keys.h */
#include "keys.h"
#include "log_now.h"
#include <jansson.h>
#include <mbedtls/md.h>
#include <stdio.h>
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

/* What the first keys are made of: the time of the first start and a secret. It lies in the log, so servers
   that share the log make the same keys of it, at the same time or after a start that was cut short. */
typedef struct seed_t { uint8_t time[6], secret[32]; } seed_t;

static bool seed_from_log(log_t *l, seed_t *out, why_t *why)
{
    ensign_slice_t record;
    ulid_t now = ulid_new();
    seed_t fresh;

    memcpy(fresh.time, now.b, sizeof fresh.time);
    if (!random_bytes(fresh.secret, sizeof fresh.secret))
        return fail(why, "keys: the system gives no random bytes; start ensignd again later");
    if (!setting_make_now(l, "key-seed", slice_of((const uint8_t *)&fresh, sizeof fresh), &record, why))
        return false;
    if (record.len != sizeof *out)
        return fail(why, "keys: the setting key-seed is damaged; begin with another store, or give --keys "
                         "FILE");
    memcpy(out, record.ptr, sizeof *out);
    return true;
}

/* The nth 32 bytes of what the seed has for one field of the key of that rank. */
static void seed_bytes(const seed_t *seed, const char *field, unsigned rank, size_t n, unsigned char out[32])
{
    unsigned char text[64];
    int len = snprintf((char *)text, sizeof text, "%s %u %u", field, rank, (unsigned)n);

    mbedtls_md_hmac(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), seed->secret, sizeof seed->secret, text,
                    (size_t)len, out);
}

/* Of the first `letters` of the alphabet. */
static char *seed_text(const seed_t *seed, const char *field, unsigned rank, size_t length, size_t letters)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    unsigned char bytes[32];
    char *s = x_alloc(length + 1);

    for (size_t i = 0, used = 0; used < length; i++) {
        if (i % sizeof bytes == 0) seed_bytes(seed, field, rank, i / sizeof bytes, bytes);
        if (bytes[i % sizeof bytes] < 256 - 256 % letters)      /* others would favour the first letters */
            s[used++] = alphabet[bytes[i % sizeof bytes] % letters];
    }
    return s;
}

/* Behind the time comes the rank, so that ids of keys sort by it. */
static ulid_t seed_id(const seed_t *seed, const char *field, unsigned rank)
{
    unsigned char bytes[32];
    ulid_t id;

    seed_bytes(seed, field, rank, 0, bytes);
    memcpy(id.b, bytes, sizeof id.b);
    memcpy(id.b, seed->time, sizeof seed->time);
    id.b[sizeof seed->time] = (uint8_t)rank;
    return id;
}

/* In the project of another key; NULL: in one of its own. */
static api_key_t make_key(const seed_t *seed, unsigned rank, const api_key_t *beside, unsigned permissions)
{
    api_key_t k;

    memset(&k, 0, sizeof k);
    k.org = beside ? beside->org : seed_id(seed, "org", rank);
    k.project = beside ? beside->project : seed_id(seed, "project", rank);
    k.id = seed_id(seed, "key", rank);
    k.client_id = seed_text(seed, "client id", rank, 32, 52);
    k.client_secret = seed_text(seed, "client secret", rank, 64, 62);
    k.permissions = permissions;
    return k;
}

static const char key_prefix[] = "key/";
enum { FIRST, READER, OTHER };  /* the rank of each of the first keys */

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
    ok = log_make_now(l, slice_of(key, sizeof key), slice_text(text), why);
    free(text);
    return ok;
}

static ensign_slice_t id_of(ensign_slice_t key)
{
    return slice_of(key.ptr + sizeof key_prefix - 1, key.len - (sizeof key_prefix - 1));
}

static bool parse_key(ensign_slice_t key, ensign_slice_t value, api_key_t *out)
{
    json_t *o = json_loadb((const char *)value.ptr, value.len, 0, NULL);
    const char *id, *secret, *project, *org;
    int permissions;
    bool ok;

    memset(out, 0, sizeof *out);
    ok = o &&
         json_unpack(o, "{s:s, s:s, s:s, s:s, s:i}", "client_id", &id, "client_secret", &secret, "project",
                     &project, "org", &org, "permissions", &permissions) == 0 &&
         ulid_from(id_of(key), &out->id) && ulid_parse(slice_text(project), &out->project) &&
         ulid_parse(slice_text(org), &out->org);
    if (ok) {
        out->client_id = x_strdup(id);
        out->client_secret = x_strdup(secret);
        out->permissions = (unsigned)permissions;
    }
    json_decref(o);
    return ok;
}

static bool load_key(void *user, ensign_slice_t key, ensign_slice_t value)
{
    api_key_t k;
    if (parse_key(key, value, &k)) add_key(user, &k);
    return true;
}

static bool make_and_keep(keyring_t *r, log_t *l, unsigned rank, unsigned permissions, why_t *why)
{
    api_key_t k;
    seed_t seed;

    if (!seed_from_log(l, &seed, why)) return false;
    k = make_key(&seed, rank, rank == READER ? &r->keys[0] : NULL, permissions);
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
    return (!*made || make_and_keep(r, l, FIRST, PERM_ALL, why)) &&
           (keyring_reader(r) || make_and_keep(r, l, READER, PERM_SUBSCRIBER | PERM_TOPICS_READ, why)) &&
           (keyring_other(r) || make_and_keep(r, l, OTHER, PERM_ALL, why));
}

/* Another server that shares the log has made a key, changed it, or removed it. */
static void key_changed(void *user, ensign_slice_t key, ensign_slice_t value)
{
    keyring_t *r = user;
    api_key_t *there, k;
    ulid_t id;

    if (!ulid_from(id_of(key), &id)) return;
    there = keyring_by_id(r, &id);
    if (value.len > 0 && parse_key(key, value, &k)) {
        if (!there) {
            add_key(r, &k);
            return;
        }
        api_key_free(there);
        *there = k;
    } else if (value.len == 0 && there) {
        api_key_free(there);
        r->count--;
        memmove(there, there + 1, (size_t)(r->keys + r->count - there) * sizeof *there);
    }
}

void keyring_watch(keyring_t *r, log_t *l)
{
    r->watch.prefix = key_prefix;
    r->watch.changed = key_changed;
    r->watch.user = r;
    log_watch(l, &r->watch);
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
