/* options.h - the command line */
#ifndef ENSIGND_OPTIONS_H
#define ENSIGND_OPTIONS_H
#include "auth.h"

typedef struct options_t {
    const char  *listen;                /* IP address */
    uint16_t     port, auth_port;       /* 0: the kernel chooses */
    const char  *data;                  /* NULL with memory */
    bool         memory, tls, verbose, help;
    const char  *keys_file, *cert_file, *env_file, *dump;
    auth_lives_t lives;
    int64_t      subscriber_queue;      /* events */
} options_t;

bool options_read(options_t *o, int argc, char **argv, why_t *why);
void options_help(void);
#endif
