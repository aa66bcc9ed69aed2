/* query.c - ensign query: prints what an EnSQL query selects. The server waits for us where we are slow. */
#include "event.h"
#include "input.h"
#include "session.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIGNAL_LOOK_MS 100      /* how often a question inside of a row looks for ^C */

typedef struct query_t {
    session_t s;
    const options_t *o;
    char *sql;                  /* read from standard input; NULL: an argument */
    ensign_param_t *params;
    ensign_query_t q;
    ensign_ulid_t topic_id;     /* of the last topic that was asked for; zeros: none was */
    char     topic[513];        /* its name; "": the key may not read it */
    uint64_t rows;
    bool     ended;
} query_t;

/* ---- what the options say */

static bool read_bool(const char *text, bool *out)
{
    *out = strcmp(text, "true") == 0;
    return *out || strcmp(text, "false") == 0;
}

static bool read_int(const char *text, int64_t *out)
{
    bool minus = text[0] == '-';
    uint64_t n;

    if (!text_to_u64(text + minus, &n) || n > (uint64_t)INT64_MAX + minus) return false;
    *out = minus ? (int64_t)(0 - n) : (int64_t)n;
    return true;
}

static bool read_bytes(const char *text, ensign_slice_t *out)
{
    uint8_t *bytes;

    if (!text_from_hex(text, &bytes, &out->len)) return false;
    out->ptr = x_keep(bytes);
    return true;
}

static bool read_value(ensign_param_t *p, const char *type, size_t len, const char *value)
{
    static const struct { const char *name; int type; } types[] = {
        { "int", ENSIGN_PARAM_INT }, { "double", ENSIGN_PARAM_DOUBLE }, { "bool", ENSIGN_PARAM_BOOL },
        { "string", ENSIGN_PARAM_STRING }, { "bytes", ENSIGN_PARAM_BYTES },
    };

    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (strlen(types[i].name) != len || memcmp(types[i].name, type, len) != 0) continue;
        p->type = types[i].type;
        if (p->type == ENSIGN_PARAM_INT) return read_int(value, &p->as.i);
        if (p->type == ENSIGN_PARAM_DOUBLE) return text_to_double(value, &p->as.d);
        if (p->type == ENSIGN_PARAM_BOOL) return read_bool(value, &p->as.b);
        if (p->type == ENSIGN_PARAM_BYTES) return read_bytes(value, &p->as.bytes);
        p->as.s = value;
        return true;
    }
    return false;
}

static int read_param(const query_t *q, const char *text, ensign_param_t *p)
{
    const char *equals = strchr(text, '='), *colon = equals ? strchr(equals, ':') : NULL;
    size_t len = equals ? (size_t)(equals - text) : 0;

    memset(p, 0, sizeof *p);
    if (colon && len > 0) {
        p->name = x_keep_text(text, len);
        if (read_value(p, equals + 1, (size_t)(colon - equals - 1), colon + 1)) return EXIT_DONE;
    }
    return options_refuse(
        q->o,
        "--param %s: give NAME=TYPE:VALUE, such as limit=int:10, x=double:0.5, y=bool:true, "
        "z=string:abc, b=bytes:00ff",
        text);
}

static int read_sql(query_t *q)
{
    uint8_t *bytes;
    size_t len;

    if (strcmp(q->o->args.at[0], "-") != 0) return EXIT_DONE;
    if (!input_whole("-", EVENT_MAX, "a query may have", &bytes, &len)) return EXIT_USAGE;
    q->sql = x_keep(x_realloc(bytes, len + 1));
    q->sql[len] = '\0';
    if (strlen(q->sql) == len) return EXIT_DONE;
    return options_refuse(q->o, "the query on standard input holds a zero byte; give text");
}

static int read_options(query_t *q)
{
    const list_t *l = &q->o->params;
    int status = event_check(q->o);

    q->params = x_keep(x_realloc(NULL, (l->count + 1) * sizeof *q->params));
    for (size_t i = 0; i < l->count && status == EXIT_DONE; i++)
        status = read_param(q, l->at[i], &q->params[i]);
    return status == EXIT_DONE ? read_sql(q) : status;
}

/* ---- rows */

static bool has_all(const query_t *q)
{
    return q->o->count > 0 && q->rows >= q->o->count;
}

/* Does what is printed name the topic? */
static bool names_topic(const options_t *o)
{
    return o->json || (o->format && strstr(o->format, "%t"));
}

/* A row has its topic's id alone, and the topic's record the name. Only this answer is pulled, so the row
 * stands. Without one, and after a signal, the name stays unknown. */
static void learn_topic(query_t *q, ensign_ulid_t id)
{
    ensign_request_t r = ensign_topic_by_id(q->s.c, id, NULL);
    const ensign_notice_t *n = NULL;
    int rc = r.id != 0 ? ENSIGN_TIMEOUT : ENSIGN_E_LIMIT;

    q->topic_id = id;
    q->topic[0] = '\0';
    while (rc == ENSIGN_TIMEOUT && stop_signal() == 0) rc = ensign_await(q->s.c, r.id, SIGNAL_LOOK_MS, &n);
    if (rc == ENSIGN_OK && n->type == ENSIGN_NOTICE_TOPIC)
        snprintf(q->topic, sizeof q->topic, "%.*s", (int)n->as.topic->name.len,
                 (const char *)n->as.topic->name.ptr);
}

static void print_row(query_t *q, const ensign_event_t *e)
{
    ensign_event_t named = *e;

    if (e->topic_name.len == 0 && names_topic(q->o)) {
        if (memcmp(&q->topic_id, &e->topic_id, sizeof q->topic_id) != 0) learn_topic(q, e->topic_id);
        named.topic_name = ensign_str(q->topic);
    }
    event_print(q->o, &named, false);
}

/* The service says INVALID_ARGUMENT for an unknown topic, too: its words tell which. */
static void take_end(query_t *q, const ensign_notice_t *n)
{
    static const char unknown[] = "unknown topic in query";
    ensign_slice_t text = n->as.end.text;

    q->ended = true;
    if (!n->error) return;
    if (text.len == sizeof unknown - 1 && memcmp(text.ptr, unknown, text.len) == 0)
        session_fail(&q->s, EXIT_ABSENT);
    session_error(&q->s, NULL, n->error);
}

static void take(query_t *q)
{
    const ensign_notice_t *n;

    while (!has_all(q) && !q->ended && out_failed() == 0 && (n = session_pull(&q->s)) != NULL) {
        if (n->handle != q->q.id) continue;
        if (n->type == ENSIGN_NOTICE_EVENT) {
            print_row(q, n->as.event);
            q->rows++;
        }
        if (n->type == ENSIGN_NOTICE_GAP) session_error(&q->s, "an event is left out", n->error);
        if (n->type == ENSIGN_NOTICE_END) take_end(q, n);
    }
}

static void loop(query_t *q)
{
    while (!q->ended && !has_all(q)) {
        woke_t woke = session_wait(&q->s, -1, -1);
        if (woke == WOKE_STOP || woke == WOKE_OVER) break;
        take(q);
    }
    out_flush();
}

static bool open_query(query_t *q)
{
    const options_t *o = q->o;
    ensign_query_desc_t d;

    if (!session_open(&q->s, o, false)) return false;
    memset(&d, 0, sizeof d);
    d.sql = q->sql ? q->sql : o->args.at[0];
    d.params = q->params;
    d.param_count = o->params.count;
    d.include_duplicates = o->include_duplicates;
    d.timeout_ms = o->timeout_ms < UINT32_MAX ? (uint32_t)o->timeout_ms : 0;
    q->q = ensign_query_open(q->s.c, &d);
    if (q->q.id != 0) return true;
    session_error(&q->s, NULL, ensign_error(q->s.c));
    return false;
}

int run_query(const options_t *o)
{
    static query_t q;
    char rows[NUMBER_TEXT];
    int status;

    q.o = o;
    status = read_options(&q);
    if (status == EXIT_DONE) {
        if (open_query(&q)) {
            loop(&q);
            if (q.rows > 0 || q.s.status == EXIT_DONE)
                say("%s event%s", text_number(q.rows, rows), q.rows == 1 ? "" : "s");
        }
        status = session_end(&q.s);
    }
    return status;
}
