/* options.h - the command line */
#ifndef ENSIGND_OPTIONS_H
#define ENSIGND_OPTIONS_H
#include "auth.h"
#include "faults.h"

typedef struct options_t {
    const char  *listen;                /* IP address */
    uint16_t     port, auth_port;       /* 0: the kernel chooses */
    const char  *unix_path;             /* NULL: the gRPC service has its port */
    const char  *data;                  /* the folder, by --data or --store; NULL: in memory */
    const char  *store;                 /* as it was given */
    const char  *late;                  /* the seed of --store late:SEED; NULL: another engine */
    const char  *nats;                  /* the servers of --store nats://...; NULL: another engine */
    const char  *prefix;                /* of names in NATS */
    int64_t      replicas;              /* of streams in NATS; 0: as it has servers */
    bool         memory, tls, verbose, help, strict, maintenance, auth_maintenance, detach;
    const char  *keys_file, *cert_file, *client_ca, *env_file, *pid_file, *log_file, *dump;
    auth_lives_t lives;
    int64_t      token_life;            /* seconds, for those of `lives` that are not given; 0: none */
    int64_t      subscriber_queue;      /* events */
    int64_t      max_unacked, max_deliver, max_groups, ack_wait;        /* of groups; ack_wait: seconds */
    int64_t      store_timeout;         /* seconds */
    int64_t      dedup_window;          /* seconds; 0: none */
    faults_t     faults;
} options_t;

bool options_read(options_t *o, int argc, char **argv, why_t *why);
void options_help(void);
#endif
