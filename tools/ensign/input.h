/* input.h - what is to be published, in pieces of constant memory: lines of a file or a pipe, whole files
 *
 * A line is given where it lies in the buffer; it stands until the next input_read. */
#ifndef ENSIGN_CLI_INPUT_H
#define ENSIGN_CLI_INPUT_H
#include "text.h"

#define EVENT_MAX (4u << 20)    /* the server takes no larger event, nor the library */

typedef struct input_t {
    const char *name;           /* for messages */
    int      fd;
    bool     regular;           /* never waits */
    bool     terminal;          /* somebody types */
    bool     eof;
    char     ending;            /* of a line; input_open sets it to a newline */
    uint8_t *buf;
    size_t   cap, start, end;   /* [start, end) is not given yet */
    size_t   max;               /* bytes of the longest line; input_open sets it to EVENT_MAX */
    uint64_t line;              /* of the one given last, from 1 on */
    uint64_t taken, size;       /* bytes given; of the file, where it is one */
} input_t;

typedef enum { LINE_GOT, LINE_NONE /* yet: read */, LINE_EOF, LINE_TOO_LONG } line_t;

bool   input_open(input_t *in, const char *path);       /* "-": standard input. False: said */
bool   input_there(const char *path);                   /* could it be opened? False: said */
line_t input_line(input_t *in, ensign_slice_t *line);   /* without its ending */
bool   input_read(input_t *in);                         /* one read; false: it failed, said */
void   input_close(input_t *in);

/* The whole of a file, at most max bytes: `limit` says of what they are the most, and what to do about that.
 * False: said. *out is the caller's to free. */
bool   input_whole(const char *path, size_t max, const char *limit, uint8_t **out, size_t *len);
#endif
