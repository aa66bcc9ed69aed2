/* nats_text.h - what NATS writes as text: answers of its API, the reply subjects of deliveries, times, keys
 *
 * Nothing here keeps state or asks for anything. */
#ifndef ENSIGND_NATS_TEXT_H
#define ENSIGND_NATS_TEXT_H
#include "ids.h"
#include "nats_link.h"

/* An answer of $JS.API, or of a stream to a publish. What it does not have is 0. */
typedef struct nats_answer_t {
    int      code;                      /* 0: it is no error; one of these, or JetStream's err_code */
    char     text[200];                 /* of the error */
    uint64_t sequence;                  /* of what was published, or of the message that was asked for */
    uint64_t created;                   /* of a stream, ns since 1970 */
    uint64_t last;                      /* of a stream */
    uint64_t pending;                   /* of a consumer */
    int      replicas;                  /* of a stream */
    bool     modern;                    /* of a stream: its server is 2.10 or later */
} nats_answer_t;

enum {
    NATS_SILENT = -1,                   /* no answer came in time, or the connection was lost */
    NATS_UNREAD = -2,                   /* the answer is no JSON, or not as it should be */
    NATS_NOBODY = 503,                  /* nobody listens there: no JetStream, or no leader just now */
    NATS_NO_MESSAGE = 10037,
    NATS_NO_PEERS = 10005,
    NATS_NO_STREAM = 10059,
    NATS_STREAM_EXISTS = 10058,
    NATS_NO_JETSTREAM = 10039,          /* for this account */
    NATS_NO_JETSTREAM_HERE = 10076,
    NATS_UNAVAILABLE = 10008,           /* for the moment */
    NATS_NO_CLUSTER = 10074,            /* more than one replica was asked for */
    NATS_WRONG_SEQUENCE = 10071         /* Nats-Expected-Last-Subject-Sequence; `sequence` is the one there */
};

void nats_answer_read(const nats_message_t *m, nats_answer_t *a);       /* m: NULL: none came */

/* Of a message that a consumer delivers. */
typedef struct nats_delivery_t {
    ensign_slice_t consumer;            /* its name */
    uint64_t sequence, number, pending; /* in the stream; of the consumer's deliveries; behind this one */
    uint64_t when;                      /* ns since 1970 */
} nats_delivery_t;

bool nats_delivery_read(const char *reply, nats_delivery_t *d);
/* A list of addresses without the logins in them, for texts. free() it. */
char *nats_servers_shown(const char *servers);
bool nats_time_read(const char *text, uint64_t *ns);    /* "2026-11-30T21:51:44.000000009Z", no other zone */

/* Any bytes as one token of a subject: it has 4/3 of their length, and a NUL. free() it. */
char *nats_key_token(ensign_slice_t key);
/* False: the token is none of those. The key is put behind what is there. */
bool  nats_token_key(const char *token, buf_t *key);
#endif
