/* service.c - the table of RPCs, authentication, and the way from a call to its function; see service.h */
#include "dead_letter.h"
#include "group.h"
#include "jobs.h"
#include "reply.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENSIGN_SERVICE "/ensign.v1beta1.Ensign/"
#define HEALTH_SERVICE "/grpc.health.v1.Health/"
#define GROUPS_SERVICE "/ensignd.v1.Groups/"
#define REFLECTION_METHOD ".ServerReflection/ServerReflectionInfo"

static void watch_half_close(service_t *s, call_t *c)
{
    (void)s;
    (void)c;    /* a watch goes on until it is cancelled */
}

static void stop_stream(service_t *s, call_t *c)
{
    (void)s;
    call_end(c, GRPC_UNAVAILABLE, TEXT_STOPPING);
}

static const rpc_t rpcs[] = {
    { ENSIGN_SERVICE "Publish", false, PERM_PUBLISHER, 0, publish_open, publish_message, publish_half_close,
      publish_deadline, publish_stop, publish_closed },
    { ENSIGN_SERVICE "Subscribe", false, PERM_SUBSCRIBER, 0, subscribe_open, subscribe_message,
      subscribe_half_close, NULL, stop_stream, subscribe_closed },
    { ENSIGN_SERVICE "EnSQL", false, 0, PERM_SUBSCRIBER | PERM_TOPICS_READ, NULL, rpc_ensql, wait_half_close,
      NULL, stop_stream, ensql_closed },
    { ENSIGN_SERVICE "Explain", false, PERM_SUBSCRIBER, 0, NULL, rpc_explain, wait_half_close, NULL, NULL,
      explain_closed },
    { ENSIGN_SERVICE "ListTopics", false, PERM_TOPICS_READ, 0, NULL, rpc_list_topics, NULL, NULL, NULL,
      NULL },
    { ENSIGN_SERVICE "CreateTopic", false, PERM_TOPICS_CREATE, 0, NULL, rpc_create_topic, wait_half_close,
      NULL, NULL, change_closed },
    { ENSIGN_SERVICE "RetrieveTopic", false, PERM_TOPICS_READ, 0, NULL, rpc_retrieve_topic, NULL, NULL, NULL,
      NULL },
    { ENSIGN_SERVICE "TopicNames", false, 0, PERM_TOPICS_READ | PERM_PUBLISHER | PERM_SUBSCRIBER, NULL,
      rpc_topic_names, NULL, NULL, NULL, NULL },
    { ENSIGN_SERVICE "TopicExists", false, 0, PERM_TOPICS_READ | PERM_PUBLISHER | PERM_SUBSCRIBER, NULL,
      rpc_topic_exists, NULL, NULL, NULL, NULL },
    { ENSIGN_SERVICE "DeleteTopic", false, 0, 0, NULL, rpc_delete_topic, wait_half_close, NULL, NULL,
      change_closed },
    { ENSIGN_SERVICE "SetTopicPolicy", false, PERM_TOPICS_EDIT, 0, NULL, rpc_set_topic_policy, wait_half_close,
      NULL, NULL, change_closed },
    { ENSIGN_SERVICE "Info", false, PERM_TOPICS_READ | PERM_METRICS_READ, 0, NULL, rpc_info, wait_half_close,
      NULL, NULL, info_closed },
    { ENSIGN_SERVICE "Status", true, 0, 0, NULL, rpc_status, NULL, NULL, NULL, NULL },
    { HEALTH_SERVICE "Check", true, 0, 0, NULL, rpc_health_check, NULL, NULL, NULL, NULL },
    { HEALTH_SERVICE "Watch", true, 0, 0, NULL, rpc_health_watch, watch_half_close, NULL, health_stop,
      health_closed },
    { GROUPS_SERVICE "List", false, PERM_TOPICS_READ, 0, NULL, rpc_groups_list, wait_half_close, NULL,
      stop_stream, group_task_closed },
    { GROUPS_SERVICE "Get", false, PERM_TOPICS_READ, 0, NULL, rpc_groups_get, wait_half_close, NULL, NULL,
      group_task_closed },
    { GROUPS_SERVICE "Remove", false, PERM_TOPICS_EDIT, 0, NULL, rpc_groups_remove, wait_half_close, NULL,
      NULL, group_task_closed },
    { GROUPS_SERVICE "Reset", false, PERM_TOPICS_EDIT, 0, NULL, rpc_groups_reset, wait_half_close, NULL, NULL,
      group_task_closed },
    { "/grpc.reflection.v1" REFLECTION_METHOD, true, 0, 0, reflection_open, reflection_message,
      reflection_half_close, NULL, stop_stream, reflection_closed },
    { "/grpc.reflection.v1alpha" REFLECTION_METHOD, true, 0, 0, reflection_open, reflection_message,
      reflection_half_close, NULL, stop_stream, reflection_closed },
};

/* The real server has no reflection, and no RPCs of groups. */
static bool is_offered(const service_t *s, const rpc_t *rpc)
{
    return !s->strict || (rpc->message != reflection_message && rpc->closed != group_task_closed);
}

static const rpc_t *find_rpc(const service_t *s, const char *path)
{
    for (size_t i = 0; i < sizeof rpcs / sizeof rpcs[0]; i++)
        if (strcmp(rpcs[i].path, path) == 0 && is_offered(s, &rpcs[i])) return &rpcs[i];
    return NULL;
}

/* Is there a service of this name? `prefix` is a path to the slash behind the name, that slash included. */
static bool is_service(const service_t *s, const char *prefix, size_t len)
{
    for (size_t i = 0; i < sizeof rpcs / sizeof rpcs[0]; i++)
        if (strncmp(rpcs[i].path, prefix, len) == 0 && is_offered(s, &rpcs[i])) return true;
    return false;
}

/* The words of grpc-go. */
static void refuse_unknown(const service_t *s, call_t *c)
{
    const char *path = c->path ? c->path : "", *slash = strrchr(path, '/');
    char text[300];

    if (path[0] != '/' || slash == path)
        snprintf(text, sizeof text, "malformed method name: \"%.200s\"", path);
    else if (is_service(s, path, (size_t)(slash - path) + 1))
        snprintf(text, sizeof text, "unknown method %.100s for service %.*s", slash + 1,
                 (int)(slash - path - 1), path + 1);
    else
        snprintf(text, sizeof text, "unknown service %.*s",
                 slash - path > 200 ? 200 : (int)(slash - path - 1), path + 1);
    call_end(c, GRPC_UNIMPLEMENTED, text);
}

/* The first value that verifies wins; other schemes are skipped. */
static bool authenticate(service_t *s, call_t *c)
{
    static const char scheme[] = "Bearer ";
    size_t n = sizeof scheme - 1;

    for (size_t i = 0; i < c->authorization_count; i++) {
        const char *value = c->authorization[i];
        if (strncmp(value, scheme, n) == 0 && auth_verify(s->auth, slice_text(value + n), &c->claims))
            return true;
    }
    call_end(c, GRPC_UNAUTHENTICATED, c->authorization_count ? "invalid credentials" : "missing credentials");
    return false;
}

static bool permitted(call_t *c, const rpc_t *rpc)
{
    unsigned has = c->claims.permissions;
    if ((has & rpc->need) == rpc->need && (rpc->may == 0 || (has & rpc->may))) return true;
    call_end(c, GRPC_PERMISSION_DENIED, TEXT_PERMISSION);
    return false;
}

static void on_open(void *user, call_t *c)
{
    service_t *s = user;
    const rpc_t *rpc = c->path ? find_rpc(s, c->path) : NULL;

    log_line("%s: %s", c->peer, c->path ? c->path : "(no path)");
    if (!rpc) {
        refuse_unknown(s, c);
        return;
    }
    if (s->maintenance && !rpc->open_to_all) {
        call_end(c, GRPC_UNAVAILABLE, "the Ensign server is currently in maintenance mode");
        return;
    }
    if (!rpc->open_to_all && (!authenticate(s, c) || !permitted(c, rpc))) return;
    c->rpc = rpc;
    if (rpc->open) rpc->open(s, c);
}

static void on_message(void *user, call_t *c, ensign_slice_t message)
{
    const rpc_t *rpc = c->rpc;
    rpc->message(user, c, message);
}

static void on_half_close(void *user, call_t *c)
{
    const rpc_t *rpc = c->rpc;
    if (rpc->half_close) rpc->half_close(user, c);
    else call_end(c, GRPC_INTERNAL, "grpc: the request message is missing");
}

static void on_deadline(void *user, call_t *c)
{
    const rpc_t *rpc = c->rpc;
    if (rpc && rpc->deadline) rpc->deadline(user, c);
    else call_end(c, GRPC_DEADLINE_EXCEEDED, TEXT_DEADLINE);
}

static void on_closed(void *user, call_t *c)
{
    const rpc_t *rpc = c->rpc;
    if (rpc && rpc->closed) rpc->closed(user, c);
}

const call_handler_t service_handler = { on_open, on_message, on_half_close, on_deadline, on_closed };

void service_stop_call(service_t *s, call_t *c)
{
    const rpc_t *rpc = c->rpc;
    if (rpc && rpc->stop) rpc->stop(s, c);
}

void service_before_commit(service_t *s)
{
    if (s->groups) groups_run(s->groups, now_ms());
}

void service_after_commit(service_t *s)
{
    subscribers_join(s);
    publishers_resume(s);
    if (s->groups) groups_run(s->groups, now_ms());
    if (s->groups) group_tasks_run(s);
    jobs_wake_all(s, s->broker, true);
    health_run(s);
}

void service_after_sending(service_t *s)
{
    if (s->groups) groups_sent(s->groups, now_ms());
}

bool service_busy(const service_t *s)
{
    return s->joining_count > 0;
}

void service_free(service_t *s)
{
    group_tasks_free(s);
    groups_close(s->groups);
    dead_letters_free(s);
    changes_free(s);
    jobs_free(s);
    numbers_free(s);
    publishers_free(s);
    free(s->joining);
    memset(s, 0, sizeof *s);
}
