/* session.h - a client made from the options, the loop around it, signals, exit statuses
 *
 * Commands wait here and nowhere else. SIGINT and SIGTERM end the wait; a second one ends the process at
 * once. The client's own notices (connected, lost, failed) are dealt with here, and so is WAITING of every
 * handle: each new reason is said in one line. */
#ifndef ENSIGN_CLI_SESSION_H
#define ENSIGN_CLI_SESSION_H
#include "options.h"

typedef struct session_t {
    const options_t *o;
    ensign_t *c;
    bool     patient;           /* publish, subscribe: go on for ever, once connected */
    bool     keyed;             /* it has a key */
    bool     settled;           /* a stream was open */
    bool     over;              /* the client has failed or is closed: nothing more comes */
    bool     connected;
    bool     lost;              /* DISCONNECTED was told, CONNECTED not yet */
    bool     tells_waits;       /* a call says why it waits for another attempt */
    bool     told;              /* the signal that ends us was told to the command */
    char     reason[sizeof ((ensign_error_t *)0)->text];    /* why nothing comes, as it was said last */
    uint64_t started_ms;
    int      status;            /* exit status: the first that is not EXIT_DONE */
} session_t;

typedef enum {
    WOKE_NOTICE,                /* or nothing in particular: pull, then wait again */
    WOKE_INPUT,                 /* the descriptor can be read */
    WOKE_TIME,
    WOKE_STOP,                  /* a signal, or nobody reads standard output: once; status is set */
    WOKE_OVER                   /* it has failed: status is set, the reason is said */
} woke_t;

/* False: the reason was said, status is set; session_end all the same. */
bool session_open(session_t *s, const options_t *o, bool patient);

/* Writes what is buffered, then waits: for a notice, for fd (-1: none), for a signal; at most ms (-1: no
 * limit). */
woke_t session_wait(session_t *s, int fd, int ms);

/* The next notice of a handle; NULL: none now. */
const ensign_notice_t *session_pull(session_t *s);

/* Waits for the next notice of this handle. NULL: none comes, and that was said. */
const ensign_notice_t *session_next(session_t *s, uint32_t handle);

/* For questions: the same. An END with an error is said, too, and gives NULL; an END without gives *end. */
const ensign_notice_t *session_answer(session_t *s, uint32_t handle, const ensign_notice_t **end);

void session_fail(session_t *s, int status);            /* the first one counts */
void session_error(session_t *s, const char *what, const ensign_error_t *e);    /* says it, and its status */
/* The time was up before this handle was open: says what kept it, and the status is EXIT_LATE. */
void session_late(session_t *s, uint32_t handle);
int  session_end(session_t *s);                         /* frees; the exit status */

/* Asks for the name again before a topic or a group (`kind`) is destroyed, unless --yes was given. EXIT_DONE:
 * go on; else an exit status, and it was said. */
int  confirm_removal(const options_t *o, const char *kind, const char *name, const char *with);

int  exit_of(const ensign_error_t *e);
int  exit_of_nack(int code);
int  stop_signal(void);                                 /* 0: none yet */

/* "key-grouped" for ENSIGN_DEDUP_KEY_GROUPED: the library's name in lower case; stands until the next four */
const char *session_name(int names, int number);

/* The id of a topic that is given by name or id. False: said. */
bool session_topic(session_t *s, const char *topic, ensign_ulid_t *id);
/* Is this text an id? A name begins with a letter, an id with a digit. */
bool topic_is_id(const char *topic, ensign_ulid_t *id);
/* False: the service's EnSQL takes the front of such a name for a word of its own, a dot for its end. */
bool topic_is_queryable(const char *name);
#endif
