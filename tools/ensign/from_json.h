/* from_json.h - an event from a line of JSON, as subscribe and query print it with --json, and ensignd with
 * --dump
 *
 * It reads data, key, type, mimetype, metadata, encryption and compression. What else those commands print,
 * such as ids and times, an event gets anew when it is published. */
#ifndef ENSIGN_CLI_FROM_JSON_H
#define ENSIGN_CLI_FROM_JSON_H
#include "text.h"

#define FROM_JSON_MAX (32u << 20)       /* bytes of a line: an event of 4 MiB, each byte escaped */

typedef enum { FROM_JSON_EVENT, FROM_JSON_NONE /* a gap, a topic */, FROM_JSON_BAD } from_json_result_t;

typedef struct from_json_t {
    uint8_t *room;              /* the strings of the last line, unescaped, and its metadata */
    size_t   cap;
    uint8_t *at, *wire;         /* where the next string goes, and the next pair of metadata */
    char     why[300];          /* of FROM_JSON_BAD: the field, and what it should be */
} from_json_t;

/* Sets those fields of *e, which point into the room until the next line is read. */
from_json_result_t from_json(from_json_t *j, ensign_slice_t line, ensign_event_t *e);
void from_json_end(from_json_t *j);
#endif
