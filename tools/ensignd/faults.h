/* faults.h - what the server does wrong on purpose, for tests of clients; it counts, and leaves nothing to
 * chance */
#ifndef ENSIGND_FAULTS_H
#define ENSIGND_FAULTS_H
#include "util.h"

typedef struct faults_t {
    int64_t nack_every;                 /* of each publish stream, each so manieth good event; 0: none */
    int64_t nack_code;
    int64_t ack_delay_ms;
    int64_t cut_bytes, cut_events;      /* of a connection; 0: it is not cut */
    int64_t cut_first;                  /* so many connections, the first ones; 0: all */
    int64_t refuse_auth;                /* so many requests for tokens, the first ones; -1: all */
    int64_t refuse_code;                /* HTTP status of that */
} faults_t;

/* Nack.Code by its name or its number; returns false when neither fits. */
bool        nack_code_parse(const char *text, int64_t *code);
const char *nack_text(int64_t code);    /* as the service words it */
const char *nack_name(int64_t code);    /* "TOPIC_UNKNOWN" */
#endif
