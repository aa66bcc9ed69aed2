/* etcd_watch.c - the keys of an etcd, and each change of them, also over a restart of it
 * Shows   typed calls of every kind in one loop; callback fields; a stream that goes on where it stopped
 * Run     build/examples/etcd_watch members/ 3          (ENSIGN_ENDPOINT=localhost:2379, ENSIGN_INSECURE=1)
 *         While it runs a lease keeps the key members/watcher alive; it ends after 3 changes, 0: never.
 *         Messages: etcd.proto, made as tools/docs/typed-calls.md tells
 * Prints  for each key that is there REVISION IS KEY VALUE, then for each change PUT or DELETE in place of IS
 * Next    otlp_export.c */
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include "etcd.ensign.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SET(field, from, count) \
    ((field).size = (pb_size_t)(count), memcpy((field).bytes, (from), (count)))

enum { TTL_S = 6, KEEP_MS = 2000 };

/* One unary call at a time; which one says what comes next. */
typedef enum { GRANT, PUT, RANGE } step_t;

typedef struct watcher_t {
    ensign_t *c;
    const char *prefix;
    step_t step;
    ensign_call_t unary, watch, keep;
    int64_t lease;
    int64_t revision;       /* the newest that was seen: the watch goes on behind it */
    uint64_t keep_at_ms;    /* when the lease is to be kept alive next */
    unsigned long left;     /* changes until the end */
    bool endless;
} watcher_t;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "etcd_watch: %s: %s\n", what, why);
    exit(1);
}

/* etcd may be away for a while: each call waits for it, and tries some times before it ends. */
static ensign_call_desc_t options(void)
{
    ensign_call_desc_t d;

    memset(&d, 0, sizeof d);
    d.no_token = true;
    d.wait_for_ready = true;
    d.retry.max_attempts = 5;
    return d;
}

/* ------------------------------------------------------------------ unary calls, one after the other */
static ensign_call_t open_grant(watcher_t *w, const ensign_call_desc_t *d)
{
    etcdserverpb_LeaseGrantRequest m = etcdserverpb_LeaseGrantRequest_init_zero;

    m.TTL = TTL_S;
    return etcdserverpb_Lease_LeaseGrant_open(w->c, &m, d);
}

static ensign_call_t open_put(watcher_t *w, const ensign_call_desc_t *d)
{
    etcdserverpb_PutRequest m = etcdserverpb_PutRequest_init_zero;
    const size_t length = strlen(w->prefix);

    SET(m.key, w->prefix, length);
    memcpy(m.key.bytes + length, "watcher", 7);
    m.key.size = (pb_size_t)(length + 7);
    SET(m.value, "here", 4);
    m.lease = w->lease;
    return etcdserverpb_KV_Put_open(w->c, &m, d);
}

/* Until the first key that does not begin with the prefix: its last byte counted up. */
static ensign_call_t open_range(watcher_t *w, const ensign_call_desc_t *d)
{
    etcdserverpb_RangeRequest m = etcdserverpb_RangeRequest_init_zero;
    const size_t length = strlen(w->prefix);

    SET(m.key, w->prefix, length);
    SET(m.range_end, w->prefix, length);
    m.range_end.bytes[length - 1]++;
    return etcdserverpb_KV_Range_open(w->c, &m, d);
}

static void begin(watcher_t *w, step_t step)
{
    ensign_call_desc_t d = options();

    w->step = step;
    d.deadline_ms = 60000;
    w->unary = step == GRANT ? open_grant(w, &d) : step == PUT ? open_put(w, &d) : open_range(w, &d);
    if (w->unary.id == 0) die("open", ensign_error(w->c)->text);
}

/* ------------------------------------------------------------------ what comes */
static void print(const char *what, const mvccpb_KeyValue *kv)
{
    printf("%lld %s %.*s %.*s\n", (long long)kv->mod_revision, what, (int)kv->key.size,
           (const char *)kv->key.bytes, (int)kv->value.size, (const char *)kv->value.bytes);
    fflush(stdout);
}

/* nanopb calls it for each key of a RangeResponse. */
static bool take_key(pb_istream_t *in, const pb_field_t *field, void **arg)
{
    mvccpb_KeyValue kv = mvccpb_KeyValue_init_zero;

    (void)field, (void)arg;
    if (!pb_decode(in, mvccpb_KeyValue_fields, &kv)) return false;
    print("IS", &kv);
    return true;
}

/* For each event of a WatchResponse. */
static bool take_event(pb_istream_t *in, const pb_field_t *field, void **arg)
{
    mvccpb_Event event = mvccpb_Event_init_zero;
    watcher_t *w = (watcher_t *)*arg;

    (void)field;
    if (!pb_decode(in, mvccpb_Event_fields, &event)) return false;
    print(event.type == mvccpb_Event_EventType_DELETE ? "DELETE" : "PUT", &event.kv);
    w->revision = event.kv.mod_revision;
    if (w->left > 0) w->left--;
    return true;
}

static void open_watch(watcher_t *w)
{
    etcdserverpb_WatchRequest m = etcdserverpb_WatchRequest_init_zero;
    etcdserverpb_WatchCreateRequest *create = &m.request_union.create_request;
    const size_t length = strlen(w->prefix);
    ensign_call_desc_t d = options();

    m.which_request_union = etcdserverpb_WatchRequest_create_request_tag;
    SET(create->key, w->prefix, length);
    SET(create->range_end, w->prefix, length);
    create->range_end.bytes[length - 1]++;
    create->start_revision = w->revision + 1;
    w->watch = etcdserverpb_Watch_Watch_open(w->c, &d);
    if (etcdserverpb_Watch_Watch_send(w->c, w->watch, &m) != ENSIGN_OK)
        die("watch", ensign_error(w->c)->text);
}

static void open_keep(watcher_t *w)
{
    ensign_call_desc_t d = options();

    w->keep = etcdserverpb_Lease_LeaseKeepAlive_open(w->c, &d);
    if (w->keep.id == 0) die("keep alive", ensign_error(w->c)->text);
    w->keep_at_ms = 0;
}

static int read_grant(watcher_t *w, const ensign_notice_t *n)
{
    etcdserverpb_LeaseGrantResponse m = etcdserverpb_LeaseGrantResponse_init_zero;
    int rc = etcdserverpb_Lease_LeaseGrant_read(w->c, n, &m);

    if (rc == ENSIGN_OK) w->lease = m.ID;
    return rc;
}

static int read_put(watcher_t *w, const ensign_notice_t *n)
{
    etcdserverpb_PutResponse m = etcdserverpb_PutResponse_init_zero;

    return etcdserverpb_KV_Put_read(w->c, n, &m);
}

static int read_range(watcher_t *w, const ensign_notice_t *n)
{
    etcdserverpb_RangeResponse m = etcdserverpb_RangeResponse_init_zero;
    int rc;

    m.kvs.funcs.decode = take_key;
    rc = etcdserverpb_KV_Range_read(w->c, n, &m);
    if (rc == ENSIGN_OK) w->revision = m.header.revision;
    return rc;
}

/* The call of this notice has ended: if etcd, or the way to it, is away we go on. Another error ends us. */
static void go_on(watcher_t *w, int status)
{
    if (status != ENSIGN_GRPC_UNAVAILABLE && status != ENSIGN_GRPC_DEADLINE_EXCEEDED)
        die("etcd", ensign_error(w->c)->text);
    fprintf(stderr, "etcd_watch: %s\n", ensign_error(w->c)->text);
}

static void take_unary(watcher_t *w, const ensign_notice_t *n)
{
    int rc = w->step == GRANT ? read_grant(w, n) : w->step == PUT ? read_put(w, n) : read_range(w, n);

    w->unary.id = 0;
    if (rc != ENSIGN_OK) {
        go_on(w, n->as.reply.status);
        begin(w, w->step);
    } else if (w->step == GRANT) {
        begin(w, PUT);
    } else if (w->step == PUT) {
        open_keep(w);
        if (w->watch.id == 0) begin(w, RANGE);
    } else {
        open_watch(w);
    }
}

/* etcd keeps old revisions until it compacts them: then some changes cannot be had any more. */
static void skip(watcher_t *w, const etcdserverpb_WatchResponse *m)
{
    if (m->compact_revision <= w->revision) die("the watch was cancelled", m->cancel_reason);
    fprintf(stderr, "etcd_watch: changes before revision %lld are gone\n", (long long)m->compact_revision);
    w->revision = m->compact_revision - 1;
    ensign_forget(w->c, w->watch.id);
    open_watch(w);
}

static void take_watch(watcher_t *w, const ensign_notice_t *n)
{
    etcdserverpb_WatchResponse m = etcdserverpb_WatchResponse_init_zero;
    int rc;

    m.events.funcs.decode = take_event;
    m.events.arg = w;
    rc = etcdserverpb_Watch_Watch_read(w->c, n, &m);
    if (rc == ENSIGN_OK && m.canceled) skip(w, &m);
    if (rc < 0 && !n->last) die("watch", ensign_error(w->c)->text);
    if (n->type == ENSIGN_NOTICE_WAITING) fprintf(stderr, "etcd_watch: %s\n", n->error->text);
    if (n->type != ENSIGN_NOTICE_END) return;
    go_on(w, n->as.end.status);
    open_watch(w);
}

static void take_keep(watcher_t *w, const ensign_notice_t *n)
{
    etcdserverpb_LeaseKeepAliveResponse m = etcdserverpb_LeaseKeepAliveResponse_init_zero;
    int rc = etcdserverpb_Lease_LeaseKeepAlive_read(w->c, n, &m);

    if (n->type == ENSIGN_NOTICE_END) {
        go_on(w, n->as.end.status);
        open_keep(w);
    } else if (rc == ENSIGN_OK && m.TTL <= 0 && w->unary.id == 0) { /* etcd was away for too long */
        ensign_forget(w->c, w->keep.id);
        w->keep.id = 0;
        begin(w, GRANT);
    }
}

/* Lets the lease live on. What cannot be sent now is sent the next time. */
static void keep_alive(watcher_t *w)
{
    etcdserverpb_LeaseKeepAliveRequest m = etcdserverpb_LeaseKeepAliveRequest_init_zero;

    if (w->keep.id == 0 || ensign_now_ms() < w->keep_at_ms) return;
    w->keep_at_ms = ensign_now_ms() + KEEP_MS;
    m.ID = w->lease;
    (void)etcdserverpb_Lease_LeaseKeepAlive_send(w->c, w->keep, &m);
}

/* Without its lease the key goes. */
static void revoke(watcher_t *w)
{
    etcdserverpb_LeaseRevokeRequest m = etcdserverpb_LeaseRevokeRequest_init_zero;
    ensign_call_desc_t d = options();
    const ensign_notice_t *n;

    m.ID = w->lease;
    d.deadline_ms = 5000;
    (void)ensign_await(w->c, etcdserverpb_Lease_LeaseRevoke_open(w->c, &m, &d).id, -1, &n);
}

static void run(watcher_t *w)
{
    const ensign_notice_t *n;

    begin(w, GRANT);
    while (w->endless || w->left > 0) {
        keep_alive(w);
        if (ensign_wait(w->c, NULL, 0, KEEP_MS) < 0) die("wait", ensign_error(w->c)->text);
        while ((n = ensign_next(w->c)) != NULL) {
            if (n->handle == w->unary.id) take_unary(w, n);
            else if (n->handle == w->watch.id) take_watch(w, n);
            else if (n->handle == w->keep.id) take_keep(w, n);
        }
    }
    revoke(w);
}

int main(int argc, char **argv)
{
    static watcher_t w;
    ensign_desc_t desc = { 0 };
    ensign_error_t why;

    if (argc != 3 || strlen(argv[1]) == 0 || strlen(argv[1]) > 100) {
        fprintf(stderr, "usage: etcd_watch PREFIX CHANGES; a prefix has 1 to 100 bytes\n");
        return 2;
    }
    w.prefix = argv[1];
    w.left = strtoul(argv[2], NULL, 10);
    w.endless = w.left == 0;
    if (ensign_desc_env(&desc, &why) != ENSIGN_OK) die("environment", why.text);
    if (ensign_create(&desc, &w.c, &why) != ENSIGN_OK) die("create", why.text);
    run(&w);
    ensign_destroy(w.c);
    return 0;
}
