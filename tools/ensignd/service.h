/* service.h - the RPCs of Ensign, of gRPC health and of server reflection: who may call what, and what comes
 * back */
#ifndef ENSIGND_SERVICE_H
#define ENSIGND_SERVICE_H
#include "broker.h"
#include "dedup_window.h"
#include "feed.h"
#include "faults.h"
#include "h2server.h"
#include "messages.h"

#define SERVER_VERSION "0.12.9-ensignd"
#define SERVER_NAME "ensignd"           /* server_id of the ready messages */

#define TEXT_PERMISSION "not authorized to perform this action"
#define TEXT_BAD_MESSAGE "grpc: failed to unmarshal the received message"
#define TEXT_DEADLINE "context deadline exceeded"
#define TEXT_STOPPING "the server is stopping"

typedef struct burial_t burial_t;       /* dead_letter.c */
typedef struct change_t change_t;       /* change.h */
typedef struct group_task_t group_task_t;   /* groups_rpc.c */
typedef struct groups_t groups_t;       /* group.h */
typedef struct health_watch_t health_watch_t;   /* unary.c */
typedef struct job_t job_t;             /* jobs.h */
typedef struct numbers_t numbers_t;     /* numbers.h */

typedef struct service_t {
    auth_t   *auth;
    log_t    *log;
    dedup_window_t *dedup;
    topics_t *topics;
    broker_t *broker;
    bool      strict;                   /* the real server's oddities too; see ensignd --help */
    bool      maintenance;              /* only Status and the health service answer */
    faults_t  faults;
    int64_t   started;                  /* monotonic ms */
    feeds_t   feeds;
    size_t    subscriber_queue;         /* live events that wait for a slow subscriber */
    bool      unhealthy;                /* the log does not answer in time */
    health_watch_t *watches;
    size_t    publishing;               /* open publish streams */
    struct publisher_t *publishers;     /* also those that are gone and wait for answers */
    bool      holding;                  /* the publishers are not read: the broker is full */
    call_t  **joining;                  /* strict: subscribers that get what is committed from now on */
    size_t    joining_count, joining_cap;
    job_t    *jobs;                     /* the first to have the next slice */
    job_t    *waiting;                  /* jobs that somebody will wake */
    change_t *changes;                  /* of metadata, without an answer yet */
    groups_t *groups;                   /* NULL: strict, they are ignored */
    group_task_t *group_tasks;          /* calls of the service Groups */
    burial_t *burials;                  /* events on their way to dead-letter topics */
    numbers_t **numbers;                /* by the topic's index */
    size_t    numbers_cap;
} service_t;

/* One RPC. `need` and `may`: bits of permission, all of the first and one of the second are wanted. */
typedef struct rpc_t {
    const char *path;
    bool        open_to_all;
    unsigned    need, may;
    void (*open)(service_t *s, call_t *c);                      /* NULL: nothing to check */
    void (*message)(service_t *s, call_t *c, ensign_slice_t message);
    void (*half_close)(service_t *s, call_t *c);                /* NULL: unary */
    void (*deadline)(service_t *s, call_t *c);                  /* NULL: DEADLINE_EXCEEDED */
    void (*stop)(service_t *s, call_t *c);                      /* the server ends; NULL: nothing runs */
    void (*closed)(service_t *s, call_t *c);
} rpc_t;

extern const call_handler_t service_handler;    /* its user is the service_t */
extern const broker_hooks_t publish_hooks;

void service_tick(service_t *s, int64_t now);   /* sends the acks that were held back long enough */
int64_t service_due(const service_t *s);        /* when it has to be called, monotonic ms; 0: it need not */
void service_before_commit(service_t *s);        /* the acks of this turn belong to its commit */
void service_after_commit(service_t *s);        /* what has waited for the log's answers of this turn */
void service_after_sending(service_t *s);       /* what has left its queue tells when an ack is due */
bool service_busy(const service_t *s);          /* somebody waits for that, and calls must stay */
void service_stop_call(service_t *s, call_t *c);
void service_free(service_t *s);

/* policy.c */
void service_resume(service_t *s);              /* takes up the jobs that the last run left */
void rpc_create_topic(service_t *s, call_t *c, ensign_slice_t message);
void rpc_delete_topic(service_t *s, call_t *c, ensign_slice_t message);
void rpc_set_topic_policy(service_t *s, call_t *c, ensign_slice_t message);

/* change.c */
void change_closed(service_t *s, call_t *c);
void changes_free(service_t *s);

/* info.c */
void rpc_info(service_t *s, call_t *c, ensign_slice_t message);
void info_closed(service_t *s, call_t *c);

/* jobs.c */
bool jobs_pending(const service_t *s);         /* some have something to do */
void jobs_run(service_t *s);                    /* behind a turn's commit */
void jobs_free(service_t *s);

/* numbers.c */
void numbers_free(service_t *s);

/* unary.c */
void rpc_status(service_t *s, call_t *c, ensign_slice_t message);
void rpc_health_check(service_t *s, call_t *c, ensign_slice_t message);
void rpc_health_watch(service_t *s, call_t *c, ensign_slice_t message);
void health_run(service_t *s);                  /* tells those who watch when something has changed */
void health_stop(service_t *s, call_t *c);
void health_closed(service_t *s, call_t *c);
void rpc_retrieve_topic(service_t *s, call_t *c, ensign_slice_t message);
void rpc_list_topics(service_t *s, call_t *c, ensign_slice_t message);
void rpc_topic_names(service_t *s, call_t *c, ensign_slice_t message);
void rpc_topic_exists(service_t *s, call_t *c, ensign_slice_t message);

/* query.c */
void rpc_ensql(service_t *s, call_t *c, ensign_slice_t message);
void ensql_closed(service_t *s, call_t *c);
void rpc_explain(service_t *s, call_t *c, ensign_slice_t message);
void explain_closed(service_t *s, call_t *c);
bool query_is_read(const msg_query_t *q);       /* all of it is text, as it has to be */

/* groups_rpc.c */
void rpc_groups_list(service_t *s, call_t *c, ensign_slice_t message);
void rpc_groups_get(service_t *s, call_t *c, ensign_slice_t message);
void rpc_groups_remove(service_t *s, call_t *c, ensign_slice_t message);
void rpc_groups_reset(service_t *s, call_t *c, ensign_slice_t message);
void groups_forget_topic(service_t *s, const ulid_t *topic);    /* it is gone */
void group_task_closed(service_t *s, call_t *c);
void group_tasks_run(service_t *s);             /* once a turn, behind groups_run */
void group_tasks_free(service_t *s);

/* reflection.c */
void reflection_open(service_t *s, call_t *c);
void reflection_message(service_t *s, call_t *c, ensign_slice_t message);
void reflection_half_close(service_t *s, call_t *c);
void reflection_closed(service_t *s, call_t *c);

/* publish.c */
void publish_open(service_t *s, call_t *c);
void publish_message(service_t *s, call_t *c, ensign_slice_t message);
void publish_half_close(service_t *s, call_t *c);
void publish_deadline(service_t *s, call_t *c);
void publish_stop(service_t *s, call_t *c);
void publish_closed(service_t *s, call_t *c);
void publishers_resume(service_t *s);           /* if the broker has room again */
void publishers_free(service_t *s);

/* subscribe.c */
void subscribe_open(service_t *s, call_t *c);
void subscribe_message(service_t *s, call_t *c, ensign_slice_t message);
void subscribe_half_close(service_t *s, call_t *c);
void subscribe_closed(service_t *s, call_t *c);
void subscribers_join(service_t *s);            /* strict: those that came in this turn */
#endif
