/* fuzz_req.c - requests of every kind and queries, many at once, with a server that the input plays
 * Input  a byte of options, one for the cuts, then operations (see play): handles are opened, pulled, held
 *        and forgotten; the server answers any of its streams with a message of the right shape, of another
 *        one or none, ends it in any way, and is cut off; time
 * Wants  each request has one answer or END; a list, a project's numbers, a watch and a query have END once,
 *        behind the right notices in the right order, with the right count; a notice stands until the next
 *        one of its handle; what it points at lies in the receive buffer; END's status and error agree;
 *        nothing comes from a handle that is held, or was forgotten; WAITING comes of watches and queries
 *        alone, and has a reason; memory and credit within the bounds, all
 *        of it back at the end. */
#include "messages.h"

enum {
    SLOTS = 14,
    OPENS_MAX = 60,
    WINDOW = 1024,
    ROW_MAX = 3000,
    ROUNDS_MAX = 20000,
    TEXT_MAX = 200,
    HTTP_MAX = 4096,
    ANSWER_MIN = 1024
};

typedef enum {
    CREATE, ENSURE, FIND, EXISTS, RETRIEVE, ARCHIVE, DESTROY, DEDUP, SHARDING, EXPLAIN, STATUS, HEALTH, AUTH,
    LIST, NAMES, INFO, WATCH, QUERY, KINDS /* those before LIST have one answer */
} kind_t;

static const ensign_notice_type_t answers[KINDS] = {
    ENSIGN_NOTICE_TOPIC,  ENSIGN_NOTICE_TOPIC,       ENSIGN_NOTICE_TOPIC,       ENSIGN_NOTICE_EXISTS,
    ENSIGN_NOTICE_TOPIC,  ENSIGN_NOTICE_TOPIC_STATE, ENSIGN_NOTICE_TOPIC_STATE, ENSIGN_NOTICE_TOPIC_STATE,
    ENSIGN_NOTICE_TOPIC_STATE, ENSIGN_NOTICE_PLAN,   ENSIGN_NOTICE_STATUS,      ENSIGN_NOTICE_HEALTH,
    ENSIGN_NOTICE_STATUS, ENSIGN_NOTICE_TOPIC,       ENSIGN_NOTICE_TOPIC,       ENSIGN_NOTICE_TOPIC_INFO,
    ENSIGN_NOTICE_HEALTH, ENSIGN_NOTICE_EVENT
};

typedef struct slot_t {
    uint32_t id; /* 0: free */
    kind_t kind;
    bool held, project;
    uint64_t count;           /* of what END counts */
    const ensign_notice_t *n; /* the last one, which stands */
    uint32_t sum;
    size_t bound;
} slot_t;

typedef struct run_t {
    actor_t a;
    slot_t slots[SLOTS];
    slot_t *dying; /* its last notice stands until any pull */
    size_t own_bound, request_bound;
    uint32_t opens;
    bool failed, closing, closed;
    uint32_t auth_attempt;
    bool auth_runs;
} run_t;

static run_t run;

/* ------------------------------------------------------------------ what a notice says */
static uint32_t sum_of_topic(const ensign_topic_t *t)
{
    uint32_t sum = sum_of(t->name) ^ sum_of(t->types) ^ sum_of(t->placements) ^
                   sum_of(ensi_slice(t->id.b, sizeof t->id.b));
    ensign_slice_t text;
    ensign_type_t type;
    size_t at;

    for (at = 0; ensign_topic_key_next(t, &at, &text);) sum = sum * 3 + sum_of(text);
    for (at = 0; ensign_topic_field_next(t, &at, &text);) sum = sum * 5 + sum_of(text);
    for (at = 0; ensign_topic_type_next(t, &at, &type);) sum = sum * 7 + sum_of(type.name) + type.major;
    return sum + (uint32_t)t->state + (uint32_t)t->created.seconds;
}

static uint32_t sum_of_notice(const ensign_notice_t *n)
{
    uint32_t sum = (uint32_t)n->type * 1000 + n->handle + n->last;

    if (n->error) sum ^= sum_of(ensign_str(n->error->text)) + (uint32_t)n->error->code;
    switch (n->type) {
    case ENSIGN_NOTICE_TOPIC: return sum ^ sum_of_topic(n->as.topic);
    case ENSIGN_NOTICE_TOPIC_STATE: return sum ^ (uint32_t)n->as.topic_state.state;
    case ENSIGN_NOTICE_EXISTS: return sum ^ n->as.exists.exists;
    case ENSIGN_NOTICE_PROJECT: return sum ^ (uint32_t)n->as.project->events ^ n->as.project->id.b[3];
    case ENSIGN_NOTICE_TOPIC_INFO: return sum ^ sum_of(n->as.topic_info->name) ^ n->as.topic_info->id.b[3];
    case ENSIGN_NOTICE_TYPE_INFO:
        return sum ^ sum_of(n->as.type_info->type.name) ^ (uint32_t)n->as.type_info->events;
    case ENSIGN_NOTICE_PLAN: return sum ^ sum_of(n->as.plan.bytes);
    case ENSIGN_NOTICE_STATUS: return sum ^ sum_of(n->as.status.version) ^ (uint32_t)n->as.status.uptime_ms;
    case ENSIGN_NOTICE_HEALTH: return sum ^ (uint32_t)n->as.health.state;
    case ENSIGN_NOTICE_EVENT: return sum ^ sum_of_event(n->as.event);
    case ENSIGN_NOTICE_END: return sum ^ sum_of(n->as.end.text) ^ sum_of(n->as.end.details);
    case ENSIGN_NOTICE_WAITING: return sum ^ n->as.waiting.retry_in_ms ^ (n->as.waiting.failures << 20);
    default: return sum;
    }
}

static void check_stands(const run_t *r)
{
    for (size_t i = 0; i < SLOTS; i++)
        if (r->slots[i].n) WANT(sum_of_notice(r->slots[i].n) == r->slots[i].sum);
}

static ensi_rx_t *rx_of(const run_t *r, const slot_t *s)
{
    ensi_handle_t *h = ensi_handle_find(&r->a.c->handles, s->id);

    WANT(h != NULL);
    if (s->kind == QUERY) return &((ensi_query_t *)(void *)h)->u.call.s.rx;
    return &((ensi_req_t *)(void *)h)->ask.call.s.rx;
}

/* In the message that is lent or, where it need not be, anywhere in the buffer. */
static void check_inside(const run_t *r, const slot_t *s, ensign_slice_t x, bool lent)
{
    const ensi_rx_t *rx = rx_of(r, s);
    const uint8_t *from = rx->lent_ptr ? rx->lent_ptr : rx->ptr + (lent ? rx->start : 0);
    size_t size = rx->lent_ptr ? ensi_mem_size(rx->lent_ptr) : lent ? rx->lent : rx->end;

    if (x.len > 0) WANT(x.ptr >= from && x.len <= size && x.ptr + x.len <= from + size);
}

static void check_row(const run_t *r, const slot_t *s, const ensign_event_t *e)
{
    ensign_slice_t slices[EVENT_SLICES];

    slices_of_event(e, slices);
    for (size_t i = 0; i < ENSI_COUNT(slices); i++) check_inside(r, s, slices[i], true);
    WANT(e->token == 0 && e->topic_name.len <= ENSI_TOPIC_NAME_MAX);
}

static void check_topic(const run_t *r, const slot_t *s, const ensign_topic_t *t)
{
    bool lent = s->kind == LIST;

    if (s->kind == NAMES) {
        WANT(t->name.len <= ENSI_TOPIC_NAME_MAX && t->keys.len == 0 && t->types.len == 0);
        return;
    }
    check_inside(r, s, t->name, lent);
    check_inside(r, s, t->keys, lent);
    check_inside(r, s, t->fields, lent);
    check_inside(r, s, t->types, lent);
    check_inside(r, s, t->placements, lent);
}

/* ------------------------------------------------------------------ what the program hears */
static slot_t *slot_of(run_t *r, uint32_t id)
{
    for (size_t i = 0; i < SLOTS; i++)
        if (id && r->slots[i].id == id) return &r->slots[i];
    return NULL;
}

static void free_slot(run_t *r, slot_t *s)
{
    r->a.bound -= s->bound;
    memset(s, 0, sizeof *s);
}

/* Before a pull: the handle that has had its last notice dies by it. */
static void reap(run_t *r)
{
    if (r->dying) free_slot(r, r->dying);
    r->dying = NULL;
}

static void check_end(const run_t *r, const slot_t *s, const ensign_notice_t *n)
{
    const ensign_notice_end_t *e = &n->as.end;

    WANT(n->last && e->count == s->count);
    WANT((e->status == ENSIGN_GRPC_OK) == (n->error == NULL));
    if (n->error == NULL) WANT(s->kind >= LIST && (s->kind != INFO || s->project));
    if (s->kind == WATCH) WANT(n->error || r->closing);
    if (s->kind == WATCH && e->status == ENSIGN_GRPC_UNAVAILABLE) return; /* given up: the last fault */
    if (n->error && n->error->code <= ENSIGN_E_CANCELLED && n->error->code >= ENSIGN_E_UNAUTHENTICATED)
        WANT(e->status == ENSIGN_E_CANCELLED + 1 - n->error->code); /* both run in the same order */
}

static void check_many(const run_t *r, slot_t *s, const ensign_notice_t *n)
{
    WANT(!n->last);
    if (n->type == ENSIGN_NOTICE_PROJECT) {
        WANT(s->kind == INFO && !s->project && s->count == 0);
        s->project = true;
        return;
    }
    if (n->type == ENSIGN_NOTICE_TYPE_INFO) {
        WANT(s->kind == INFO && s->count > 0);
        check_inside(r, s, n->as.type_info->type.name, false);
        return;
    }
    if (n->type == ENSIGN_NOTICE_GAP) {
        WANT(s->kind == QUERY && n->error && n->as.gap.times == 1);
        return;
    }
    if (n->type == ENSIGN_NOTICE_WAITING) {
        WANT((s->kind == WATCH || s->kind == QUERY) && n->error);
        return;
    }
    WANT(n->type == answers[s->kind] && !n->error);
    if (s->kind == INFO) WANT(s->project);
    if (n->type == ENSIGN_NOTICE_EVENT) check_row(r, s, n->as.event);
    if (n->type == ENSIGN_NOTICE_TOPIC) check_topic(r, s, n->as.topic);
    s->count++;
}

static void take(run_t *r, slot_t *s, const ensign_notice_t *n)
{
    ensign_stats_t stats;

    WANT(s != NULL && n->user == s);
    if (n->error) WANT(n->error->code < 0 && n->error->text[0] != '\0');
    if (n->type == ENSIGN_NOTICE_END) {
        check_end(r, s, n);
    } else if (s->kind < LIST) {
        WANT(n->last && n->type == answers[s->kind] && !n->error);
        if (n->type == ENSIGN_NOTICE_TOPIC) check_topic(r, s, n->as.topic);
        if (n->type == ENSIGN_NOTICE_PLAN) check_inside(r, s, n->as.plan.bytes, false);
        if (n->type == ENSIGN_NOTICE_STATUS && s->kind == STATUS)
            check_inside(r, s, n->as.status.version, false);
    } else {
        check_many(r, s, n);
    }
    WANT(ensign_stats(r->a.c, s->id, &stats) == ENSIGN_OK);
    s->n = n;
    s->sum = sum_of_notice(n);
    if (n->last) r->dying = s;
}

/* The next notice of any handle (0), or of one. */
static bool pull(run_t *r, uint32_t id)
{
    const ensign_notice_t *n;
    slot_t *s;

    check_stands(r);
    reap(r);
    n = id ? ensign_next_of(r->a.c, id) : ensign_next(r->a.c);
    if (!n) return false;
    WANT(!id || n->handle == id);
    s = slot_of(r, n->handle);
    if (n->handle == ENSIGN_CLIENT) {
        r->failed |= n->type == ENSIGN_NOTICE_FAILED;
        r->closed |= n->type == ENSIGN_NOTICE_CLOSED;
    } else {
        if (!id) WANT(s && !s->held);
        take(r, s, n);
    }
    check_stands(r); /* the others' */
    return true;
}

/* ------------------------------------------------------------------ opening */
static const char *some_name(run_t *r, char text[TEXT_MAX + 1])
{
    static const char *const names[] = { "weather", "traffic", "a", "no name" };
    uint8_t what = input_byte(&r->a);
    size_t len = what % TEXT_MAX + 1u;

    if (what < 0xC0) return names[what % 4];
    memset(text, 'n', len);
    text[len] = '\0';
    return text;
}

static ensign_ulid_t some_id(run_t *r)
{
    ensign_ulid_t id;

    memset(&id, 0, sizeof id);
    id.b[3] = input_byte(&r->a) % 4;
    return id;
}

static ensign_request_t open_policy(run_t *r, kind_t kind, void *user)
{
    static const char *const keys[] = { "one", "two", "" };
    ensign_dedup_t d;
    uint8_t what = input_byte(&r->a);
    char text[TEXT_MAX + 1];

    memset(&d, 0, sizeof d);
    d.strategy = what % 8;
    d.offset = what % 3;
    d.keys = d.fields = keys;
    d.key_count = what / 16 % 4;
    d.field_count = what / 64;
    if (kind == CREATE) return ensign_topic_create(r->a.c, some_name(r, text), what & 1 ? &d : NULL, user);
    return ensign_topic_set_dedup(r->a.c, some_id(r), &d, user);
}

static void some_query(run_t *r, ensign_query_desc_t *d, ensign_param_t params[2])
{
    uint8_t what = input_byte(&r->a);

    memset(d, 0, sizeof *d);
    memset(params, 0, 2 * sizeof *params);
    d->sql = "SELECT * FROM weather";
    d->params = params;
    d->param_count = what % 3;
    for (size_t i = 0; i < 2; i++) {
        params[i].name = i ? "b" : "a";
        params[i].type = 1 + what / 4 % 6; /* 6 is none */
        params[i].as.i = what;
        if (params[i].type == ENSIGN_PARAM_BOOL) params[i].as.b = i == 0;
        if (params[i].type == ENSIGN_PARAM_BYTES) params[i].as.bytes = input_short(&r->a);
        if (params[i].type == ENSIGN_PARAM_STRING) params[i].as.s = "text";
    }
    d->include_duplicates = (what & 1) != 0;
    d->window_bytes = WINDOW;
    d->max_event_bytes = ROW_MAX / 2;
    d->timeout_ms = what & 128 ? 3000 : 0;
}

static uint32_t open_query(run_t *r, slot_t *s)
{
    ensign_query_desc_t d;
    ensign_param_t params[2];

    some_query(r, &d, params);
    d.user = s;
    s->bound = s->kind == QUERY ? ensign_query_memory_bound(&d) : r->request_bound;
    r->a.bound += s->bound;
    return s->kind == QUERY ? ensign_query_open(r->a.c, &d).id : ensign_explain(r->a.c, &d).id;
}

static uint32_t open_request(run_t *r, slot_t *s)
{
    ensign_t *c = r->a.c;
    ensign_ulid_t ids[2], id = some_id(r);
    char text[TEXT_MAX + 1];
    uint8_t what = input_byte(&r->a);

    memset(ids, 3, sizeof ids);
    r->a.bound += s->bound = r->request_bound;
    switch (s->kind) {
    case CREATE:
    case DEDUP: return open_policy(r, s->kind, s).id;
    case ENSURE: return ensign_topic_ensure(c, some_name(r, text), s).id;
    case FIND: return ensign_topic_by_name(c, some_name(r, text), s).id;
    case EXISTS: return ensign_topic_exists(c, what & 1 ? "weather" : NULL, what & 2 ? &id : NULL, s).id;
    case RETRIEVE: return ensign_topic_by_id(c, id, s).id;
    case ARCHIVE: return ensign_topic_archive(c, id, s).id;
    case DESTROY: return ensign_topic_destroy(c, id, s).id;
    case SHARDING: return ensign_topic_set_sharding(c, id, what, s).id;
    case STATUS: return ensign_status(c, s).id;
    case HEALTH:
    case WATCH: return ensign_health(c, what & 1 ? "default" : NULL, s->kind == WATCH, s).id;
    case AUTH: return ensign_auth_status(c, s).id;
    case LIST: return ensign_topic_list(c, s).id;
    case NAMES: return ensign_topic_names(c, s).id;
    default: return ensign_info(c, ids, what % 3, s).id;
    }
}

static void open_one(run_t *r)
{
    slot_t *s = NULL;
    kind_t kind = (kind_t)(input_byte(&r->a) % KINDS);
    int code;

    for (size_t i = 0; i < SLOTS && !s; i++)
        if (r->slots[i].id == 0) s = &r->slots[i];
    if (!s || r->opens++ == OPENS_MAX) return;
    s->kind = kind;
    s->id = kind == QUERY || kind == EXPLAIN ? open_query(r, s) : open_request(r, s);
    WANT(!slot_of(r, s->id) || slot_of(r, s->id) == s); /* a number of its own */
    if (s->id) return;
    code = ensign_error(r->a.c)->code;
    WANT(code == ENSIGN_E_ARGUMENT || code == ENSIGN_E_LIMIT || code == ENSIGN_E_STATE ||
         code == ENSIGN_E_TOO_LARGE);
    if (code == ENSIGN_E_TOO_LARGE) { /* the smallest one has no room for a list */
        WANT(kind == CREATE || kind == DEDUP || kind == INFO);
        WANT(r->a.c->max_answer_bytes == ANSWER_MIN);
    }
    if (code == ENSIGN_E_STATE) WANT(r->failed || r->closing || r->a.c->failed || kind == AUTH);
    free_slot(r, s);
}

/* ------------------------------------------------------------------ the server's messages */
static void put_id(run_t *r, message_t *m, uint32_t tag)
{
    ensign_ulid_t id = some_id(r);
    put_bytes(m, tag, ensi_slice(id.b, input_byte(&r->a) < 0xF0 ? 16 : 7));
}

static void put_id_text(run_t *r, message_t *m, uint32_t tag)
{
    char text[27];
    ensign_ulid_text(some_id(r), text);
    put_bytes(m, tag, ensi_slice(text, input_byte(&r->a) < 0xF0 ? 26 : 25));
}

static void put_message(message_t *m, uint32_t tag, const message_t *inner)
{
    put_bytes(m, tag, bytes_of(inner));
}

static void make_topic(run_t *r, message_t *m)
{
    static message_t inner;
    char text[TEXT_MAX + 1];
    uint8_t what = input_byte(&r->a);

    m->len = inner.len = 0;
    put_id(r, m, 1);
    put_bytes(m, 3, ensign_str(some_name(r, text)));
    put_number(m, 7, what % 8);
    if (what & 8) put_number(&inner, 1, what);
    if (what & 16) put_listed(&r->a, &inner);
    if (what & 24) put_message(m, 11, &inner);
    if (what & 32) put_listed(&r->a, m);
    if (what & 64) put_bytes(m, 13, ensign_str("\x0A\x01t\x10\x02"));
    if (what & 128) put_bytes(m, 15, input_short(&r->a)); /* mostly no Timestamp */
}

/* The name as the server tells it: a hash, right or wrong. */
static void make_name(run_t *r, message_t *m)
{
    char text[TEXT_MAX + 1], shown[64];
    uint8_t hash[ENSI_ID_HASH];
    size_t len = 0;

    m->len = 0;
    put_id_text(r, m, 1);
    put_id_text(r, m, 2);
    ensi_id_hash(ensign_str(some_name(r, text)), hash);
    WANT(ensi_base64_encode(hash, input_byte(&r->a) < 0xF0 ? sizeof hash : 5, true, shown, sizeof shown,
                            &len) == ENSIGN_OK);
    put_bytes(m, 3, ensi_slice(shown, len));
}

static void make_page(run_t *r, message_t *m, bool names)
{
    static message_t entry;
    static uint8_t token[1100];
    uint8_t what = input_byte(&r->a);

    m->len = 0;
    for (uint8_t n = what % 6; n > 0; n--) {
        if (names) make_name(r, &entry);
        else make_topic(r, &entry);
        put_message(m, 1, &entry);
    }
    if (what >= 0xF0) put_bytes(m, 2, ensi_slice(token, sizeof token)); /* longer than any that we know */
    else if (what >= 0x80) put_bytes(m, 2, ensign_str("next"));
}

static void make_project(run_t *r, message_t *m)
{
    static message_t info, type;
    uint8_t what = input_byte(&r->a);

    m->len = 0;
    put_id(r, m, 1);
    put_number(m, 2, what);
    for (uint8_t n = what % 4; n > 0; n--) {
        uint8_t types = input_byte(&r->a);
        info.len = 0;
        put_id(r, &info, 1);
        for (uint8_t i = types % 4; i > 0; i--) {
            type.len = 0;
            put_bytes(&type, 1, ensign_str("\x0A\x06Report"));
            put_number(&type, 10, i);
            if (types & 16) put_listed(&r->a, &type);
            put_message(&info, 14, &type);
        }
        if (types & 32) put_listed(&r->a, &info);
        put_message(m, 15, &info);
    }
}

static void make_row(run_t *r, message_t *m)
{
    static uint8_t filling[ROW_MAX];
    static message_t event;
    uint8_t what = input_byte(&r->a);
    ensign_slice_t data = input_short(&r->a);

    m->len = event.len = 0;
    put_bytes(&event, 2, what & 1 ? ensi_slice(filling, input_16(&r->a) % ROW_MAX) : data);
    if (what & 2) put_listed(&r->a, &event);
    put_bytes(m, 1, ensi_slice("\1\2\3\4\5\6\7\10\11\12", 10));
    put_id(r, m, 2);
    if (what & 4) put_listed(&r->a, m);
    put_message(m, 9, &event);
    if (what & 8) put_bytes(m, 9, input_short(&r->a)); /* mostly no Event */
}

static void make_state(run_t *r, message_t *m)
{
    uint8_t what = input_byte(&r->a);

    m->len = 0;
    put_number(m, 1, what % 7);
    put_bytes(m, 2, input_short(&r->a));
    put_bytes(m, 3, what & 8 ? input_short(&r->a) : ensign_str("\x08\x05"));
    if (what & 16) put_listed(&r->a, m);
}

/* What the method answers. */
static void make_answer(run_t *r, const stream_t *s, message_t *m)
{
    const char *path = stream_path(s), *slash = strrchr(path, '/'), *method = slash ? slash + 1 : "";

    m->len = 0;
    if (strcmp(method, "CreateTopic") == 0 || strcmp(method, "RetrieveTopic") == 0) make_topic(r, m);
    else if (strcmp(method, "ListTopics") == 0) make_page(r, m, false);
    else if (strcmp(method, "TopicNames") == 0) make_page(r, m, true);
    else if (strcmp(method, "Info") == 0) make_project(r, m);
    else if (strcmp(method, "EnSQL") == 0) make_row(r, m);
    else if (strcmp(method, "Status") == 0) make_state(r, m);
    else if (strcmp(method, "Check") == 0 || strcmp(method, "Watch") == 0)
        put_number(m, 1, input_byte(&r->a) % 5);
    else if (strcmp(method, "Explain") == 0) put_listed(&r->a, m);
    else { /* TopicExistsInfo, TopicStatus */
        put_bytes(m, 1, input_short(&r->a));
        put_number(m, 2, input_byte(&r->a) % 6);
    }
}

/* ------------------------------------------------------------------ the server */
/* One of its streams that are open: 0 the newest. */
static stream_t *some_stream(run_t *r, uint8_t which)
{
    size_t open = 0;

    for (int pass = 0; pass < 2; pass++) {
        size_t skip = pass ? which % open : 0;
        for (size_t i = r->a.count; i > 0; i--) {
            stream_t *s = r->a.streams[i - 1];
            if (s->closed || s->done || !s->headers) continue;
            if (pass && skip-- == 0) return s;
            if (!pass) open++;
        }
        if (open == 0) return NULL;
    }
    return NULL;
}

static void play_status(run_t *r, stream_t *s)
{
    static const char *const codes[] = { "0", "1", "3", "4", "5", "6", "7", "9", "12", "13", "14", "16" };
    uint8_t what = input_byte(&r->a);
    bytes_t f = { 0 };

    if (what & 128 && !s->started) { /* trailers only */
        peer_add(&f, ":status", what & 64 ? "503" : "200");
        peer_add(&f, "content-type", "application/grpc");
        peer_add(&f, "grpc-status", codes[what % ENSI_COUNT(codes)]);
        peer_add(&f, "grpc-message", "words%20of%20the%20server");
        stream_start(s, &f, true);
        bytes_free(&f);
    } else {
        stream_status(s, codes[what % ENSI_COUNT(codes)]);
    }
}

static void play_raw(run_t *r, stream_t *s, bool prefix)
{
    ensign_slice_t raw = input_bytes(&r->a, input_byte(&r->a));

    if (prefix) stream_message(s, raw.ptr, raw.len);
    else stream_write(s, raw.ptr, raw.len);
}

static void play_stream(run_t *r, uint8_t what)
{
    static message_t m;
    stream_t *s = some_stream(r, input_byte(&r->a));

    if (!s) return;
    switch (what) {
    case 0:
    case 1:
    case 2:
    case 3:
        make_answer(r, s, &m);
        stream_message(s, m.bytes, m.len);
        if (what < 2) stream_status(s, "0");
        break;
    case 4: play_status(r, s); break;
    case 5: play_raw(r, s, true); break;
    case 6: play_raw(r, s, false); break;
    case 7: stream_reset(s, input_byte(&r->a) % 14); break;
    case 8: stream_finish(s, true); break;
    case 9: s->frame_max = 1u + input_byte(&r->a) % 64; break;
    default: s->pad = input_byte(&r->a) % 64; break;
    }
}

static void play_connection(run_t *r, uint8_t what)
{
    uint8_t b = input_byte(&r->a);

    switch (what) {
    case 0:
        if (r->a.conn->session) actor_cut(&r->a, r->a.conn, b & 1 ? ECONNRESET : 0);
        break;
    case 1: actor_goaway(&r->a, INT32_MAX, 0, ensign_str("bye")); break;
    case 2:
        if (r->a.conn->session && !r->a.conn->goaway && r->a.count > 0)
            actor_goaway(&r->a, nghttp2_session_get_last_proc_stream_id(r->a.conn->session), b % 14,
                         ensign_str("now"));
        break;
    default: actor_setting(&r->a, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, b % 8); break;
    }
}

/* ------------------------------------------------------------------ the auth service */
static bool auth_turn(run_t *r)
{
    ensign_link_t l;
    size_t n;

    ensign_link(r->a.c, ENSIGN_LINK_AUTH, &l);
    if (l.todo == ENSIGN_LINK_DIAL) {
        r->auth_attempt = l.attempt;
        r->auth_runs = true;
        WANT(ensign_link_up(r->a.c, ENSIGN_LINK_AUTH, l.attempt, 0, r->a.now) == ENSIGN_OK);
    } else if (l.todo == ENSIGN_LINK_RUN) {
        if (!ensign_tx_buf(r->a.c, ENSIGN_LINK_AUTH, &n)) return false;
        WANT(ensign_tx_ack(r->a.c, ENSIGN_LINK_AUTH, n) == ENSIGN_OK);
    } else if (l.todo == ENSIGN_LINK_HANGUP) {
        r->auth_runs = false;
        WANT(ensign_link_down(r->a.c, ENSIGN_LINK_AUTH, l.attempt, 0, r->a.now) == ENSIGN_OK);
    } else {
        return false;
    }
    return true;
}

static void auth_say(run_t *r, const char *text, size_t n)
{
    size_t cap = 0;
    uint8_t *room = ensign_rx_buf(r->a.c, ENSIGN_LINK_AUTH, &cap);

    if (!room) return;
    WANT(cap > 0);
    if (n > cap) n = cap;
    if (n) memcpy(room, text, n);
    WANT(ensign_rx_ack(r->a.c, ENSIGN_LINK_AUTH, n, r->a.now) == ENSIGN_OK);
}

static void play_auth(run_t *r)
{
    static const char *const words[] = { "ok", "maintenance", "stopping", "x" };
    static const int codes[] = { 200, 200, 503, 404 };
    char text[400], body[200];
    uint8_t what = input_byte(&r->a);
    ensign_slice_t raw = input_short(&r->a);
    int len = snprintf(body, sizeof body, "{\"status\":\"%s\",\"uptime\":\"%dm%ds\",\"version\":\"1.%d\"%s",
                       words[what % 4], what, what % 60, what, what & 32 ? "" : "}");

    if (!r->auth_runs) return;
    if (what >= 0xF0) {
        WANT(ensign_link_down(r->a.c, ENSIGN_LINK_AUTH, r->auth_attempt, ECONNRESET, r->a.now) == ENSIGN_OK);
    } else if (what & 64) {
        auth_say(r, (const char *)raw.ptr, raw.len);
    } else {
        len = snprintf(text, sizeof text, "HTTP/1.1 %d Word\r\nContent-Length: %d\r\n\r\n%s",
                       codes[what / 4 % 4], len, body);
        auth_say(r, text, (size_t)len);
    }
}

/* ------------------------------------------------------------------ turns, and what holds at each */
/* No more than the buffer has room for: an answer's, which grows for a large message, or a row's. */
static void check_credit(const run_t *r)
{
    for (size_t i = 0; i < r->a.count; i++) {
        const stream_t *s = r->a.streams[i];
        size_t most = strstr(stream_path(s), "/EnSQL") ? ROW_MAX : r->a.c->max_answer_bytes;
        if (s->closed || !s->headers) continue;
        peer_credit(s, most + 5);
    }
}

static bool turn(run_t *r)
{
    bool moved = actor_turn(&r->a);

    moved = auth_turn(r) || moved;
    check_credit(r);
    return moved;
}

static void settle(run_t *r)
{
    int quiet = 0;

    for (uint32_t turns = 0; quiet < 2; turns++) {
        WANT(turns < TURNS_MAX);
        quiet = turn(r) ? 0 : quiet + 1;
    }
}

/* ------------------------------------------------------------------ the program */
static void play_program(run_t *r, uint8_t what)
{
    uint8_t b = input_byte(&r->a);
    slot_t *s = &r->slots[b % SLOTS];
    int rc;

    switch (what) {
    case 0:
        for (b %= 32; b > 0 && pull(r, 0); b--) {
        }
        break;
    case 1:
        if (s->id) (void)pull(r, s->id);
        break;
    case 2:
        if (!s->id) break;
        rc = ensign_hold(r->a.c, s->id, !s->held);
        WANT(rc == ENSIGN_OK);
        s->held = !s->held;
        break;
    default:
        if (!s->id) break;
        check_stands(r);
        WANT(ensign_forget(r->a.c, s->id) == ENSIGN_OK);
        WANT(ensign_next_of(r->a.c, s->id) == NULL); /* which is a pull */
        if (r->dying != s) reap(r);
        r->dying = NULL;
        free_slot(r, s);
        break;
    }
}

static void play(run_t *r)
{
    uint8_t op = input_byte(&r->a);

    if (op < 0x60) {
        play_stream(r, op % 11);
    } else if (op < 0x70) {
        play_connection(r, op % 4);
    } else if (op < 0x80) {
        play_auth(r);
    } else if (op < 0xA0) {
        open_one(r);
    } else if (op < 0xC0) {
        play_program(r, op % 4);
    } else if (op < 0xD0) {
        (void)actor_sleep(&r->a, 1u << op % 16);
    } else {
        for (uint32_t turns = 1u << op % 8; turns > 0 && turn(r); turns--) {
        }
    }
}

/* The handles that are held stay so: CLOSED does not wait for them. */
static void finish(run_t *r, bool hold)
{
    settle(r);
    for (size_t i = 0; i < SLOTS && !hold; i++)
        if (r->slots[i].id && r->dying != &r->slots[i])
            WANT(ensign_hold(r->a.c, r->slots[i].id, r->slots[i].held = false) == ENSIGN_OK);
    r->closing = true;
    WANT(ensign_close(r->a.c, ENSIGN_CLIENT, 2000) == ENSIGN_OK);
    for (int i = 0; !r->closed; i++) {
        WANT(i < ROUNDS_MAX);
        settle(r);
        while (pull(r, 0)) {
        }
        if (!r->closed) (void)actor_sleep(&r->a, 500);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        WANT(r->slots[i].id == 0 || (hold && r->slots[i].held));
        while (r->slots[i].id && pull(r, r->slots[i].id)) {
        }
    }
    for (size_t i = 0; i < SLOTS; i++) WANT(r->slots[i].id == 0);
    open_one(r);
    WANT(r->a.bound == r->own_bound && r->a.live <= r->own_bound);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t options, cut;
    ensign_desc_t d;

    if (size < 3 || size > 4096) return 0;
    memset((uint8_t *)&run + sizeof run.a, 0, sizeof run - sizeof run.a);
    actor_prepare(&run.a, data, size, &d);
    options = input_byte(&run.a);
    cut = input_byte(&run.a);
    d.topic_cache = options & 1 ? 1 : options & 2 ? ENSIGN_OFF : 0;
    d.request_timeout_ms = options & 4 ? 700 : 0;
    d.give_up_after_ms = options & 8 ? 5000 : 0;
    d.max_handles = options & 16 ? 3 : 0;
    d.auth_url = options & 32 ? NULL : "http://127.0.0.1:8088";
    d.max_answer_bytes = options & 128 ? ANSWER_MIN : 0;
    run.request_bound = ensign_request_memory_bound(&d);
    actor_create(&run.a, &d);
    run.own_bound = run.a.bound;
    settle(&run);
    run.a.cut = cut;
    while (input_left(&run.a)) play(&run);
    finish(&run, (options & 64) != 0);
    actor_end(&run.a);
    return 0;
}
