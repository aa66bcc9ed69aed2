/* call.h - one gRPC call: its loop, its metadata, its end; what messages look like is for the caller to say
 *
 * call.c has the form of bytes, call_json.c that of JSON. Where libprotobuf is not there, call_none.c stands
 * in for the latter. */
#ifndef ENSIGN_CLI_CALL_H
#define ENSIGN_CLI_CALL_H
#include "input.h"
#include "session.h"

#define MESSAGE_MAX (4u << 20)  /* of the library, unless --max-message says otherwise */
#define CALL_LIMIT  "a message may have; --max-message takes larger ones"

typedef struct call_t call_t;

typedef struct call_form_t {
    void (*print)(call_t *c, ensign_slice_t message);
    /* Of a status that is not 0: as members of the object that --json prints, or else on standard error. */
    void (*print_details)(call_t *c, ensign_slice_t details);
    /* Adds what there is of the rest of the request; sets `whole` behind its last message. NULL: the request
     * is whole from the start. False: it is wrong, and that was said. */
    bool (*more)(call_t *c);
} call_form_t;

/* Of a method whose type is known. */
typedef enum { ANSWERS_MANY, ANSWERS_ONE /* for a stream */, ANSWERS_UNARY } answers_t;

typedef struct message_t { uint8_t *bytes; size_t len; } message_t;

struct call_t {
    session_t s;
    const options_t *o;
    const call_form_t *form;
    void    *own;               /* of the form */
    ensign_call_t k;
    const char *method;         /* its path */
    uint64_t begun_ms;          /* when it was opened; 0: not yet */
    ensign_header_t *headers;
    message_t *messages;        /* those from `sent` on are still to be sent */
    size_t   count, sent;
    input_t *input;             /* is read when all that came of it was sent; NULL: nothing is */
    bool     whole;             /* no messages will be added */
    answers_t kind;
    unsigned answers;           /* that came; of one too many the call is canceled */
    bool     half_closed, ended, canceled;
};

void   call_begin(call_t *c, const options_t *o, const call_form_t *form);
int    call_method(const options_t *o);                 /* is a method named? An exit status */
int    call_headers(call_t *c);                         /* reads --header: an exit status */
void   call_add(call_t *c, ensign_slice_t message);     /* a copy of it */
size_t call_message_max(const options_t *o);
/* How many ms of --deadline are left: all of them before the call is opened. 0: the time is up;
 * ENSIGN_FOREVER: no deadline was given. */
uint32_t call_time_left(const call_t *c);
/* What every call of this command is opened with: metadata, limits, patience. */
void   call_fill(const call_t *c, const char *method, ensign_call_desc_t *d);
/* Opens the call, and goes on until it has ended. The session is open. */
void   call_run(call_t *c, const char *method);
void   call_end(call_t *c);                             /* frees; the session is session_end's */

int    run_call_json(const options_t *o);               /* an exit status */
#endif
