/* unary.c - the RPCs with one answer, and the health watch; see service.h */
#include "reply.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_DEFAULT 100
#define PAGE_TOKEN_LIFE_S 86400

void rpc_status(service_t *s, call_t *c, ensign_slice_t message)
{
    int64_t up = now_ms() - s->started;
    msg_health_check_t request;
    msg_service_state_t state;

    if (!decode(c, MSG_HEALTH_CHECK, &request, message)) return;
    memset(&state, 0, sizeof state);
    if (s->maintenance) state.status = MSG_SERVICE_STATE_STATUS_MAINTENANCE;
    else state.status = s->unhealthy ? MSG_SERVICE_STATE_STATUS_UNHEALTHY : MSG_SERVICE_STATE_STATUS_HEALTHY;
    state.version = slice_of(SERVER_VERSION, strlen(SERVER_VERSION));
    state.has_uptime = state.has_not_before = state.has_not_after = true;
    state.uptime.seconds = up / 1000;
    state.uptime.nanos = (int32_t)(up % 1000) * 1000000;
    state.not_before = wall_in(60);
    state.not_after = wall_in(3600);
    reply(c, MSG_SERVICE_STATE, &state);
}

static int32_t serving(const service_t *s)
{
    return s->unhealthy ? MSG_HEALTH_CHECK_RESPONSE_SERVING_STATUS_NOT_SERVING
                        : MSG_HEALTH_CHECK_RESPONSE_SERVING_STATUS_SERVING;
}

static bool health_of(const service_t *s, call_t *c, ensign_slice_t message, int32_t unknown,
                      msg_health_check_response_t *out)
{
    msg_health_check_request_t request;
    bool known;

    if (!decode(c, MSG_HEALTH_CHECK_REQUEST, &request, message)) return false;
    known = request.service.len == 0 || slice_is(request.service, "default");
    out->status = known ? serving(s) : unknown;
    return true;
}

void rpc_health_check(service_t *s, call_t *c, ensign_slice_t message)
{
    msg_health_check_response_t r;
    if (health_of(s, c, message, MSG_HEALTH_CHECK_RESPONSE_SERVING_STATUS_UNKNOWN, &r))
        reply(c, MSG_HEALTH_CHECK_RESPONSE, &r);
}

/* ---- the health watch: each change is told */

struct health_watch_t {
    call_t  *call;
    int32_t  told;
    health_watch_t *next, **back;
};

static void tell(health_watch_t *w, int32_t status)
{
    msg_health_check_response_t r;
    buf_t b = { NULL, 0, 0, 0 };

    r.status = w->told = status;
    if (msg_put(&b, MSG_HEALTH_CHECK_RESPONSE, &r)) call_send(w->call, buf_bytes(&b));
    buf_free(&b);
}

void rpc_health_watch(service_t *s, call_t *c, ensign_slice_t message)
{
    msg_health_check_response_t r;
    health_watch_t *w;

    if (c->state) return;       /* one request is all that there is to it */
    if (!health_of(s, c, message, MSG_HEALTH_CHECK_RESPONSE_SERVING_STATUS_SERVICE_UNKNOWN, &r)) return;
    w = c->state = x_alloc(sizeof *w);
    w->call = c;
    w->next = s->watches;
    w->back = &s->watches;
    if (w->next) w->next->back = &w->next;
    s->watches = w;
    tell(w, r.status);
}

/* Those who watch what there is not hear of no change. A slow one is told the newest state, when there is
   room. */
void health_run(service_t *s)
{
    s->unhealthy = !log_healthy(s->log);
    for (health_watch_t *w = s->watches; w; w = w->next)
        if (w->told != serving(s) && w->told != MSG_HEALTH_CHECK_RESPONSE_SERVING_STATUS_SERVICE_UNKNOWN &&
            !call_is_full(w->call))
            tell(w, serving(s));
}

/* The last change of state that it tells. */
void health_stop(service_t *s, call_t *c)
{
    health_watch_t *w = c->state;
    (void)s;

    if (w && w->told != MSG_HEALTH_CHECK_RESPONSE_SERVING_STATUS_NOT_SERVING)
        tell(w, MSG_HEALTH_CHECK_RESPONSE_SERVING_STATUS_NOT_SERVING);
    call_end(c, GRPC_UNAVAILABLE, TEXT_STOPPING);
}

void health_closed(service_t *s, call_t *c)
{
    health_watch_t *w = c->state;
    (void)s;

    if (!w) return;
    c->state = NULL;
    *w->back = w->next;
    if (w->next) w->next->back = w->back;
    free(w);
}

/* ---- topics */

void rpc_retrieve_topic(service_t *s, call_t *c, ensign_slice_t message)
{
    msg_topic_t request;
    topic_t *t;
    ulid_t id;

    if (!decode(c, MSG_TOPIC, &request, message)) return;
    if (request.id.len == 0 || !ulid_from(request.id, &id)) {
        call_end(c, GRPC_INVALID_ARGUMENT,
                 request.id.len ? "invalid topic id field" : "missing topic id field");
        return;
    }
    t = topics_by_id(s->topics, &id);
    if (!t || !c->claims.has_project || !ulid_eq(&t->project, &c->claims.project)) {
        call_end(c, GRPC_NOT_FOUND, "topic not found");
        return;
    }
    call_send(c, slice_of(t->message, t->message_len));
    call_end(c, GRPC_OK, NULL);
}

/* ---- pages */

/* A page of the project's topics, in the order of a key of 16 bytes. The token is that key of the last one
   of the page before, the time when it expires, and which list it is of. */
typedef struct page_t {
    char      list;                     /* 'L' by id, 'N' by hash of the name */
    topic_t **topics;
    size_t    count, from, to;
    char      next[64];                 /* token; empty: the last page */
} page_t;

static const uint8_t *page_key(const page_t *p, const topic_t *t)
{
    return p->list == 'L' ? t->id.b : t->hash.b;
}

static int by_id(const void *a, const void *b)
{
    topic_t *const *x = a, *const *y = b;
    return memcmp((*x)->id.b, (*y)->id.b, 16);
}

static int by_hash(const void *a, const void *b)
{
    topic_t *const *x = a, *const *y = b;
    return memcmp((*x)->hash.b, (*y)->hash.b, 16);
}

static bool read_token(const page_t *p, ensign_slice_t text, uint8_t key[16])
{
    uint8_t raw[32];
    uint64_t expires = 0;
    size_t n;

    if (!base64url_parse(text, raw, sizeof raw, &n) || n != 25 || raw[0] != (uint8_t)p->list) return false;
    for (size_t i = 0; i < 8; i++) expires = expires << 8 | raw[17 + i];
    memcpy(key, raw + 1, 16);
    return (int64_t)expires > wall_ms() / 1000;
}

static void write_token(page_t *p, const topic_t *last)
{
    uint8_t raw[25];
    uint64_t expires = (uint64_t)(wall_ms() / 1000 + PAGE_TOKEN_LIFE_S);

    raw[0] = (uint8_t)p->list;
    memcpy(raw + 1, page_key(p, last), 16);
    for (size_t i = 0; i < 8; i++) raw[17 + i] = (uint8_t)(expires >> (56 - 8 * i) & 0xff);
    base64url(slice_of(raw, sizeof raw), p->next);
}

/* False: the token is no good. */
static bool page_open(page_t *p, char list, const service_t *s, const call_t *c, const msg_page_info_t *info)
{
    size_t size = info->page_size ? info->page_size : PAGE_DEFAULT;
    uint8_t key[16];

    memset(p, 0, sizeof *p);
    p->list = list;
    if (info->next_page_token.len && !read_token(p, info->next_page_token, key)) return false;
    p->topics = x_alloc((s->topics->count + 1) * sizeof *p->topics);
    for (size_t i = 0; i < s->topics->count; i++)
        if (c->claims.has_project && ulid_eq(&s->topics->all[i]->project, &c->claims.project))
            p->topics[p->count++] = s->topics->all[i];
    qsort(p->topics, p->count, sizeof *p->topics, list == 'L' ? by_id : by_hash);
    if (info->next_page_token.len)
        while (p->from < p->count && memcmp(page_key(p, p->topics[p->from]), key, 16) <= 0) p->from++;
    p->to = p->count - p->from > size ? p->from + size : p->count;
    if (p->to < p->count) write_token(p, p->topics[p->to - 1]);
    return true;
}

void rpc_list_topics(service_t *s, call_t *c, ensign_slice_t message)
{
    static const char trouble[] = "unable to process list topics request";
    msg_page_info_t info;
    buf_t out = { NULL, 0, 0, 0 };
    page_t p;

    if (!decode(c, MSG_PAGE_INFO, &info, message)) return;
    if (!c->claims.has_project) {
        call_end(c, GRPC_PERMISSION_DENIED, TEXT_PERMISSION);
        return;
    }
    if (!page_open(&p, 'L', s, c, &info)) {
        call_end(c, GRPC_INTERNAL, trouble);
        return;
    }
    for (size_t i = p.from; i < p.to; i++)
        msg_put_field(&out, MSG_TOPICS_PAGE_TOPICS_TAG,
                      slice_of(p.topics[i]->message, p.topics[i]->message_len));
    if (p.next[0]) msg_put_field(&out, 2, slice_of(p.next, strlen(p.next)));
    call_send(c, buf_bytes(&out));
    call_end(c, GRPC_OK, NULL);
    buf_free(&out);
    free(p.topics);
}

static void put_name(buf_t *out, const topic_t *t)
{
    char id[ULID_TEXT + 1], project[ULID_TEXT + 1], hash[HASH_TEXT + 3];
    uint8_t bytes[128];
    msg_topic_name_t name;
    size_t n;

    ulid_text(&t->id, id);
    ulid_text(&t->project, project);
    base64url(slice_of(t->hash.b, sizeof t->hash.b), hash);
    name.topic_id = slice_of(id, ULID_TEXT);
    name.project_id = slice_of(project, ULID_TEXT);
    name.name = slice_of(hash, HASH_TEXT);
    if (msg_encode(MSG_TOPIC_NAME, &name, bytes, sizeof bytes, &n))
        msg_put_field(out, MSG_TOPIC_NAMES_PAGE_TOPIC_NAMES_TAG, slice_of(bytes, n));
}

void rpc_topic_names(service_t *s, call_t *c, ensign_slice_t message)
{
    msg_page_info_t info;
    buf_t out = { NULL, 0, 0, 0 };
    page_t p;

    if (!decode(c, MSG_PAGE_INFO, &info, message)) return;
    if (!page_open(&p, 'N', s, c, &info)) {
        call_end(c, GRPC_INTERNAL, "unable to process list topic names request");
        return;
    }
    for (size_t i = p.from; i < p.to; i++) put_name(&out, p.topics[i]);
    if (p.next[0]) msg_put_field(&out, 2, slice_of(p.next, strlen(p.next)));
    call_send(c, buf_bytes(&out));
    call_end(c, GRPC_OK, NULL);
    buf_free(&out);
    free(p.topics);
}

/* As Go's %q, but that all of Unicode is taken to be printable. */
static void put_quoted(buf_t *out, ensign_slice_t text)
{
    char escape[8];

    buf_put(out, "\"", 1);
    for (size_t i = 0; i < text.len; i++) {
        uint8_t b = text.ptr[i];
        const char *letter = b ? strchr("\aa\bb\tt\nn\vv\ff\rr\"\"\\\\", b) : NULL;
        if (letter && (b < 0x20 || b == '"' || b == '\\')) snprintf(escape, sizeof escape, "\\%c", letter[1]);
        else if (b < 0x20 || b == 0x7f) snprintf(escape, sizeof escape, "\\x%02x", b);
        else snprintf(escape, sizeof escape, "%c", b);
        buf_put(out, escape, strlen(escape));
    }
    buf_put(out, "\"", 1);
}

static int exists_fault(const call_t *c, const msg_topic_name_t *q, ulid_t *id, const char **text)
{
    ulid_t project;

    *text = "missing project id field";
    if (q->project_id.len == 0 && !c->claims.has_project) return GRPC_INVALID_ARGUMENT;
    *text = "invalid project id field";
    if (q->project_id.len && !ulid_parse(q->project_id, &project)) return GRPC_INVALID_ARGUMENT;
    *text = TEXT_PERMISSION;
    if (q->project_id.len && (!c->claims.has_project || !ulid_eq(&project, &c->claims.project)))
        return GRPC_PERMISSION_DENIED;
    *text = "must specify either or both topic name and id";
    if (q->name.len == 0 && q->topic_id.len == 0) return GRPC_INVALID_ARGUMENT;
    *text = "unable to process topic exists request";
    if (q->topic_id.len && !ulid_parse(q->topic_id, id)) return GRPC_INTERNAL;
    return GRPC_OK;
}

void rpc_topic_exists(service_t *s, call_t *c, ensign_slice_t message)
{
    msg_topic_name_t q;
    msg_topic_exists_info_t info;
    buf_t text = { NULL, 0, 0, 0 };
    const char *fault;
    topic_t *t;
    ulid_t id;
    int status;

    if (!decode(c, MSG_TOPIC_NAME, &q, message)) return;
    status = exists_fault(c, &q, &id, &fault);
    if (status != GRPC_OK) {
        call_end(c, status, fault);
        return;
    }
    info.exists = true;
    if (q.name.len) {
        buf_put(&text, "name=", 5);
        put_quoted(&text, q.name);
        info.exists = topics_by_name(s->topics, &c->claims.project, q.name) != NULL;
    }
    if (q.topic_id.len) {
        if (q.name.len) buf_put(&text, " and ", 5);
        buf_put(&text, "topic=", 6);
        put_quoted(&text, q.topic_id);
        t = topics_by_id(s->topics, &id);
        info.exists = info.exists && t && ulid_eq(&t->project, &c->claims.project);
    }
    info.query = buf_bytes(&text);
    reply(c, MSG_TOPIC_EXISTS_INFO, &info);
    buf_free(&text);
}
