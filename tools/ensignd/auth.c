/* auth.c - see auth.h */
#include "auth.h"
#include "log_now.h"
#include <jansson.h>
#include <mbedtls/version.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/md.h>
#include <mbedtls/pk.h>
#include <mbedtls/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RSA_BITS 2048
#define RSA_BYTES (RSA_BITS / 8)
#define TOKEN_MAX 8192          /* bytes; a token of ours has about 1,000 */

static const char audience[] = "ensignd";
static const char signing_key[] = "signing-key";

struct auth_t {
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_pk_context key;
    char kid[ULID_TEXT + 1];
    char *issuer;
    auth_lives_t lives;
};

static int parse_key(auth_t *a, const uint8_t *der, size_t n)
{
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
    return mbedtls_pk_parse_key(&a->key, der, n, NULL, 0, mbedtls_ctr_drbg_random, &a->random);
#else
    return mbedtls_pk_parse_key(&a->key, der, n, NULL, 0);
#endif
}

static int make_key(auth_t *a, mbedtls_pk_context *key)
{
    int rc = mbedtls_pk_setup(key, mbedtls_pk_info_from_type(MBEDTLS_PK_RSA));
    if (rc) return rc;
    return mbedtls_rsa_gen_key(mbedtls_pk_rsa(*key), mbedtls_ctr_drbg_random, &a->random, RSA_BITS, 65537);
}

/* The record: 16 bytes of key id, then the key in DER. */
static int make_record(auth_t *a, buf_t *record)
{
    unsigned char der[4096];
    mbedtls_pk_context key;
    ulid_t kid = ulid_new();
    int rc, n;

    mbedtls_pk_init(&key);
    rc = make_key(a, &key);
    n = rc ? rc : mbedtls_pk_write_key_der(&key, der, sizeof der);  /* writes at the end of its buffer */
    mbedtls_pk_free(&key);
    if (n <= 0) return n ? n : MBEDTLS_ERR_PK_KEY_INVALID_FORMAT;
    buf_put(record, kid.b, sizeof kid.b);
    buf_put(record, der + sizeof der - n, (size_t)n);
    memset(der, 0, sizeof der);
    return 0;
}

/* One key for all servers that share the log: whoever is first makes it. */
static int load_or_make(auth_t *a, log_t *l, why_t *why)
{
    buf_t made = { NULL, 0, 0, 0 };
    ensign_slice_t record;
    ulid_t kid;
    int rc = 0;

    if (!setting_get(l, signing_key, &record)) {
        rc = make_record(a, &made);
        if (!rc && !setting_make_now(l, signing_key, buf_bytes(&made), &record, why)) rc = 1;
        buf_free(&made);
    }
    if (rc) return rc;
    if (record.len <= sizeof kid.b) return MBEDTLS_ERR_PK_KEY_INVALID_FORMAT;
    memcpy(kid.b, record.ptr, sizeof kid.b);
    ulid_text(&kid, a->kid);
    return parse_key(a, record.ptr + sizeof kid.b, record.len - sizeof kid.b);
}

auth_t *auth_open(log_t *l, const char *issuer, const auth_lives_t *lives, why_t *why)
{
    auth_t *a = x_alloc(sizeof *a);
    char text[128];
    int rc;

    mbedtls_entropy_init(&a->entropy);
    mbedtls_ctr_drbg_init(&a->random);
    mbedtls_pk_init(&a->key);
    a->lives = *lives;
    a->issuer = x_strdup(issuer);
    rc = mbedtls_ctr_drbg_seed(&a->random, mbedtls_entropy_func, &a->entropy, NULL, 0);
    if (!rc) rc = load_or_make(a, l, why);
    if (!rc) return a;
    if (rc < 0) {       /* else *why has it */
        mbedtls_strerror(rc, text, sizeof text);
        fail(why, "auth: no signing key: %s; if the data folder is damaged, remove it", text);
    }
    auth_close(a);
    return NULL;
}

void auth_close(auth_t *a)
{
    if (!a) return;
    mbedtls_pk_free(&a->key);
    mbedtls_ctr_drbg_free(&a->random);
    mbedtls_entropy_free(&a->entropy);
    free(a->issuer);
    free(a);
}

static bool digest(ensign_slice_t text, unsigned char out[32])
{
    return mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), text.ptr, text.len, out) == 0;
}

static bool sign(auth_t *a, ensign_slice_t text, unsigned char out[RSA_BYTES])
{
    unsigned char hash[32];
    size_t len = 0;

    if (!digest(text, hash)) return false;
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
    return mbedtls_pk_sign(&a->key, MBEDTLS_MD_SHA256, hash, sizeof hash, out, RSA_BYTES, &len,
                           mbedtls_ctr_drbg_random, &a->random) == 0 &&
           len == RSA_BYTES;
#else
    return mbedtls_pk_sign(&a->key, MBEDTLS_MD_SHA256, hash, sizeof hash, out, &len, mbedtls_ctr_drbg_random,
                           &a->random) == 0 && len == RSA_BYTES;
#endif
}

static void put_json_part(buf_t *b, json_t *o)
{
    char *text = json_dumps(o, JSON_COMPACT);
    size_t n = strlen(text);
    b->end += base64url(slice_of(text, n), (char *)buf_room(b, n * 4 / 3 + 4));
    free(text);
}

/* Takes the reference to `payload`. NULL if it could not be signed. */
static char *make_token(auth_t *a, json_t *payload)
{
    json_t *header = json_pack("{s:s, s:s, s:s}", "alg", "RS256", "kid", a->kid, "typ", "JWT");
    unsigned char signature[RSA_BYTES];
    buf_t b = { NULL, 0, 0, 0 };

    put_json_part(&b, header);
    buf_put(&b, ".", 1);
    put_json_part(&b, payload);
    json_decref(header);
    json_decref(payload);
    if (!sign(a, buf_bytes(&b), signature)) {
        buf_free(&b);
        return NULL;
    }
    buf_put(&b, ".", 1);
    b.end += base64url(slice_of(signature, sizeof signature), (char *)buf_room(&b, RSA_BYTES * 4 / 3 + 4));
    return (char *)b.ptr;       /* base64url put the NUL */
}

static json_t *permission_list(unsigned bits)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < PERM_COUNT; i++)
        if (bits >> i & 1u) json_array_append_new(list, json_string(permission_names[i]));
    return list;
}

/* What the refresh tokens of an issuer are for. */
static json_t *refresh_audience(const char *issuer)
{
    return json_sprintf("%s/v1/refresh", issuer);
}

static json_t *common_claims(auth_t *a, const api_key_t *k, const ulid_t *token_id, int64_t iat, int64_t nbf,
                             int64_t exp)
{
    char sub[ULID_TEXT + 1], org[ULID_TEXT + 1], project[ULID_TEXT + 1], jti[ULID_TEXT + 1];

    ulid_text(&k->id, sub);
    ulid_text(&k->org, org);
    ulid_text(&k->project, project);
    ulid_text(token_id, jti);
    for (char *p = jti; *p; p++)
        if (*p >= 'A') *p = (char)(*p + ('a' - 'A'));
    return json_pack("{s:s, s:s, s:[s], s:I, s:I, s:I, s:s, s:s, s:s}", "iss", a->issuer, "sub", sub, "aud",
                     audience, "iat", (json_int_t)iat, "nbf", (json_int_t)nbf, "exp", (json_int_t)exp, "jti",
                     jti, "org", org, "project", project);
}

bool auth_issue(auth_t *a, const api_key_t *k, tokens_t *out)
{
    int64_t iat = wall_ms() / 1000, access_end = iat + a->lives.access;
    ulid_t id = ulid_new();
    json_t *access = common_claims(a, k, &id, iat, iat, access_end);
    json_t *refresh = common_claims(a, k, &id, iat, access_end + a->lives.overlap, iat + a->lives.refresh);

    json_object_set_new(access, "permissions", permission_list(k->permissions));
    json_object_set_new(access, "account", json_string("sandbox"));
    json_array_append_new(json_object_get(refresh, "aud"), refresh_audience(a->issuer));
    out->access = make_token(a, access);
    out->refresh = make_token(a, refresh);
    if (out->access && out->refresh) return true;
    tokens_free(out);
    return false;
}

void tokens_free(tokens_t *t)
{
    free(t->access);
    free(t->refresh);
    memset(t, 0, sizeof *t);
}

/* Splits at the next dot; the last part has none behind it. */
static ensign_slice_t next_part(ensign_slice_t *rest)
{
    const uint8_t *dot = rest->len ? memchr(rest->ptr, '.', rest->len) : NULL;
    ensign_slice_t part = slice_of(rest->ptr, dot ? (size_t)(dot - rest->ptr) : rest->len);
    size_t used = part.len + (dot ? 1 : 0);
    *rest = slice_of(rest->ptr + used, rest->len - used);
    return part;
}

static json_t *parse_part(ensign_slice_t part)
{
    uint8_t text[TOKEN_MAX];
    size_t n;
    if (!base64url_parse(part, text, sizeof text, &n)) return NULL;
    return json_loadb((const char *)text, n, 0, NULL);
}

static bool text_is(json_t *o, const char *field, const char *wanted)
{
    const char *s = json_string_value(json_object_get(o, field));
    return s && strcmp(s, wanted) == 0;
}

static bool in_list(json_t *list, const char *wanted)
{
    json_t *item;
    size_t i;
    json_array_foreach(list, i, item)
        if (json_is_string(item) && strcmp(json_string_value(item), wanted) == 0) return true;
    return false;
}

/* A time claim is checked when it is there, without leeway. */
static bool times_hold(json_t *o)
{
    json_int_t now = (json_int_t)(wall_ms() / 1000);
    json_t *exp = json_object_get(o, "exp"), *nbf = json_object_get(o, "nbf"),
           *iat = json_object_get(o, "iat");
    if (exp && json_integer_value(exp) <= now) return false;
    if (nbf && json_integer_value(nbf) > now) return false;
    return !iat || json_integer_value(iat) <= now;
}

static bool is_for_refresh(json_t *o)
{
    json_t *wanted = refresh_audience(json_string_value(json_object_get(o, "iss")));
    bool is = in_list(json_object_get(o, "aud"), json_string_value(wanted));

    json_decref(wanted);
    return is;
}

static void read_claims(json_t *o, claims_t *out)
{
    const char *sub = json_string_value(json_object_get(o, "sub"));
    const char *project = json_string_value(json_object_get(o, "project"));
    const char *org = json_string_value(json_object_get(o, "org"));
    json_t *item;
    size_t i;

    memset(out, 0, sizeof *out);
    if (sub) snprintf(out->subject, sizeof out->subject, "%s", sub);
    ulid_parse(slice_text(sub ? sub : ""), &out->key);
    ulid_parse(slice_text(org ? org : ""), &out->org);
    out->has_project =
        project && ulid_parse(slice_text(project), &out->project) && !ulid_is_zero(&out->project);
    json_array_foreach(json_object_get(o, "permissions"), i, item)
        if (json_is_string(item)) out->permissions |= permission_bit(json_string_value(item));
    out->for_refresh = is_for_refresh(o);
    out->issued = (int64_t)json_integer_value(json_object_get(o, "iat"));
}

static bool signature_holds(auth_t *a, ensign_slice_t signed_text, ensign_slice_t signature)
{
    unsigned char hash[32], raw[RSA_BYTES];
    size_t n;
    return base64url_parse(signature, raw, sizeof raw, &n) && n == sizeof raw && digest(signed_text, hash) &&
           mbedtls_pk_verify(&a->key, MBEDTLS_MD_SHA256, hash, sizeof hash, raw, n) == 0;
}

bool auth_verify(auth_t *a, ensign_slice_t token, claims_t *out)
{
    ensign_slice_t rest = token, header_part, payload_part, signed_text;
    json_t *header, *payload = NULL;
    bool ok;

    if (token.len == 0 || token.len > TOKEN_MAX) return false;
    header_part = next_part(&rest);
    payload_part = next_part(&rest);
    signed_text = slice_of(token.ptr, header_part.len + 1 + payload_part.len);
    if (signed_text.len >= token.len) return false;
    header = parse_part(header_part);
    ok = header && text_is(header, "alg", "RS256") && text_is(header, "kid", a->kid) &&
         signature_holds(a, signed_text, rest);
    if (ok) payload = parse_part(payload_part);
    ok = ok && payload && times_hold(payload) && json_is_string(json_object_get(payload, "iss")) &&
         in_list(json_object_get(payload, "aud"), audience);
    if (ok) read_claims(payload, out);
    json_decref(header);
    json_decref(payload);
    return ok;
}

const char *auth_issuer(const auth_t *a)
{
    return a->issuer;
}

char *auth_key_set(const auth_t *a)
{
    unsigned char n[RSA_BYTES], e[3];
    char n_text[RSA_BYTES * 4 / 3 + 4], e_text[8], *text;
    json_t *o;

    if (mbedtls_rsa_export_raw(mbedtls_pk_rsa(a->key), n, sizeof n, NULL, 0, NULL, 0, NULL, 0, e,
                               sizeof e) != 0)
        return NULL;
    base64url(slice_of(n, sizeof n), n_text);
    base64url(slice_of(e, sizeof e), e_text);
    o = json_pack("{s:[{s:s, s:s, s:s, s:s, s:s, s:s}]}", "keys", "kty", "RSA", "alg", "RS256", "use", "sig",
                  "kid", a->kid, "n", n_text, "e", e_text);
    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return text;
}
