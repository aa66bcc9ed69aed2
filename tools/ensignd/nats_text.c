/* nats_text.c - see nats_text.h */
#include "nats_text.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- answers */

static uint64_t number_at(const json_t *object, const char *name)
{
    const json_t *v = json_object_get(object, name);
    return json_is_integer(v) && json_integer_value(v) > 0 ? (uint64_t)json_integer_value(v) : 0;
}

static void set_error(nats_answer_t *a, int code, const char *text)
{
    a->code = code;
    snprintf(a->text, sizeof a->text, "%s", text);
}

/* The text of a wrong sequence ends with the right one. */
static void read_error(const json_t *error, nats_answer_t *a)
{
    const char *text = json_string_value(json_object_get(error, "description")), *last;
    uint64_t code = number_at(error, "err_code");

    if (!code) code = number_at(error, "code");
    set_error(a, code && code < 100000 ? (int)code : NATS_UNREAD, text ? text : "an error without a text");
    last = strrchr(a->text, ' ');
    if (a->code == NATS_WRONG_SEQUENCE && last) a->sequence = strtoull(last, NULL, 10);
}

static void read_object(const json_t *o, nats_answer_t *a)
{
    const json_t *error = json_object_get(o, "error"), *config = json_object_get(o, "config");
    const char *created = json_string_value(json_object_get(o, "created"));

    if (error) {
        read_error(error, a);
        return;
    }
    a->sequence = number_at(o, "seq");
    if (!a->sequence) a->sequence = number_at(json_object_get(o, "message"), "seq");
    a->last = number_at(json_object_get(o, "state"), "last_seq");
    a->pending = number_at(o, "num_pending");
    a->replicas = (int)number_at(config, "num_replicas");
    a->modern = json_object_get(config, "compression") != NULL;
    if (created && !nats_time_read(created, &a->created))
        set_error(a, NATS_UNREAD, "a time that cannot be read");
}

void nats_answer_read(const nats_message_t *m, nats_answer_t *a)
{
    json_t *o;

    memset(a, 0, sizeof *a);
    if (!m) {
        set_error(a, NATS_SILENT, "NATS did not answer in time");
    } else if (m->status == NATS_NOBODY) {
        set_error(a, NATS_NOBODY, "no stream of NATS answers; it may have no leader just now");
    } else {
        o = json_loadb((const char *)m->data.ptr, m->data.len, 0, NULL);
        if (json_is_object(o)) read_object(o, a);
        else set_error(a, NATS_UNREAD, "an answer of NATS that cannot be read");
        json_decref(o);
    }
}

/* ---- deliveries */

enum { TOKENS_SHORT = 9, TOKENS_LONG = 11, TOKENS_MOST = 12 };

static size_t split(const char *text, ensign_slice_t tokens[TOKENS_MOST])
{
    size_t count = 0;

    for (const char *end; count < TOKENS_MOST; text = end + 1) {
        end = text + strcspn(text, ".");
        tokens[count++] = slice_of(text, (size_t)(end - text));
        if (!*end) return count;
    }
    return 0;
}

static bool read_number(ensign_slice_t s, uint64_t *out)
{
    uint64_t v = 0;

    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9' || v > (UINT64_MAX - 9) / 10) return false;
        v = 10 * v + (uint64_t)(s.ptr[i] - '0');
    }
    *out = v;
    return s.len > 0;
}

/* $JS.ACK.STREAM.CONSUMER.DELIVERED.SEQUENCE.NUMBER.TIME.PENDING; newer servers may put a domain and an
   account behind ACK, and one more token at the end. */
bool nats_delivery_read(const char *reply, nats_delivery_t *d)
{
    ensign_slice_t tokens[TOKENS_MOST], *at = tokens;
    size_t count = split(reply, tokens);

    if (count < TOKENS_SHORT || !slice_is(tokens[0], "$JS") || !slice_is(tokens[1], "ACK")) return false;
    if (count >= TOKENS_LONG) at += 2;
    d->consumer = at[3];
    return read_number(at[5], &d->sequence) && read_number(at[6], &d->number) &&
           read_number(at[7], &d->when) && read_number(at[8], &d->pending) && d->sequence > 0;
}

/* ---- times */

/* Days since 1970-01-01 in the calendar that goes on backwards for ever. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = month > 2 ? year : year - 1, m = month > 2 ? month - 3 : month + 9;
    return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

static bool read_fraction(const char *text, uint64_t *ns)
{
    uint64_t unit = 100000000;

    *ns = 0;
    for (; *text >= '0' && *text <= '9'; text++, unit /= 10) *ns += unit * (uint64_t)(*text - '0');
    return strcmp(text, "Z") == 0;
}

/* What stands between the scheme and the last @ of an address is a login. */
char *nats_servers_shown(const char *servers)
{
    char *shown = x_strdup(servers), *out = shown;

    for (const char *at = servers, *end; *at; at = end + (*end == ',')) {
        const char *host, *scheme;
        end = at + strcspn(at, ",");
        scheme = strstr(at, "://");
        host = scheme && scheme < end ? scheme + 3 : at;
        memmove(out, at, (size_t)(host - at));
        out += host - at;
        for (const char *p = host; p < end; p++)
            if (*p == '@') host = p + 1;
        memmove(out, host, (size_t)(end - host));
        out += end - host;
        if (*end) *out++ = ',';
    }
    *out = '\0';
    return shown;
}

bool nats_time_read(const char *text, uint64_t *ns)
{
    int year, month, day, hour, minute, second, end = 0;
    uint64_t fraction;

    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &year, &month, &day, &hour, &minute, &second, &end) != 6 ||
        year < 1970 || year > 2500 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 ||
        hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60)
        return false;
    if (!read_fraction(text + end + (text[end] == '.'), &fraction)) return false;
    *ns = (uint64_t)(((days_of(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1000000000u +
          fraction;
    return true;
}

/* ---- keys */

char *nats_key_token(ensign_slice_t key)
{
    char *token = x_alloc(key.len / 3 * 4 + 8);
    base64url(key, token);
    return token;
}

bool nats_token_key(const char *token, buf_t *key)
{
    size_t cap = strlen(token), len;

    if (!base64url_parse(slice_text(token), buf_room(key, cap), cap, &len)) return false;
    key->end += len;
    return true;
}
