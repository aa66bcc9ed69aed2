/* field.h - what a query can name of an event: a field of its JSON data, or a field of the event itself
 *
 * A name without @ is a field of the data: temp, or by a path sensor.position.0, where a number picks an item
 * of an array. The data count as JSON when they are one JSON object, whatever the MIME type says. A name with
 * @ is the event's own, so the two never hide each other:
 *
 *     @id  @offset  @epoch  @key  @is_duplicate           of the envelope; @id as text
 *     @committed  @created                                times
 *     @data  @mimetype  @metadata.KEY                     @mimetype as text: application/json
 *     @type.name  @type.version  @type.major  @type.minor  @type.patch
 *     @publisher.id  @publisher.address  @publisher.client_id  @publisher.user_agent
 *
 * What an event does not have is VALUE_NULL; so are the fields of an event that is encrypted or compressed,
 * but for those of its envelope. */
#ifndef ENSIGND_FIELD_H
#define ENSIGND_FIELD_H
#include "messages.h"
#include <jansson.h>

typedef enum {
    VALUE_NULL, VALUE_BOOL, VALUE_INT, VALUE_REAL, VALUE_TEXT, VALUE_TIME,
    VALUE_OTHER                         /* a JSON object or array */
} value_kind_t;

typedef struct value_t {
    value_kind_t kind;
    bool    b;
    int64_t i;                          /* INT; of a TIME the seconds since 1970 */
    int32_t nanos;
    double  d;
    ensign_slice_t text;                /* not owned */
} value_t;

typedef enum {
    OWN_NONE,                           /* a field of the data */
    OWN_ID, OWN_OFFSET, OWN_EPOCH, OWN_KEY, OWN_IS_DUPLICATE, OWN_COMMITTED, OWN_CREATED, OWN_DATA,
    OWN_MIMETYPE, OWN_METADATA, OWN_TYPE_NAME, OWN_TYPE_VERSION, OWN_TYPE_MAJOR, OWN_TYPE_MINOR,
    OWN_TYPE_PATCH, OWN_PUBLISHER_ID, OWN_PUBLISHER_ADDRESS, OWN_PUBLISHER_CLIENT_ID,
    OWN_PUBLISHER_USER_AGENT
} own_t;

typedef struct field_t {
    own_t       own;
    const char *path;                   /* its parts, each with a NUL behind it; of METADATA the key alone */
    size_t      parts;
    const char *name;                   /* in the object that a list of fields gives */
} field_t;

/* What one event may cost a query. The loop does nothing else meanwhile, so these keep other clients from
   waiting: each limit alone is reached within 0.2 s on a machine of 2026. */
#define VIEW_WORK_MAX 33554432u         /* bytes that are looked at, or work that takes as long */
#define VIEW_VALUES_MAX 131072u         /* of its JSON; parsed, they take up to 30 MiB */

/* An event that is looked at. Its data are parsed when the first of their fields is asked for. */
typedef struct view_t {
    const msg_event_wrapper_t *wrapper; /* not owned */
    msg_event_t event;                  /* zeroed where it cannot be read */
    json_t     *data;                   /* NULL: not JSON, or not parsed yet */
    bool        parsed;
    size_t      work;                   /* see VIEW_WORK_MAX; it may pass it by one test */
    const char *refused;                /* why the query cannot go on with this event; NULL: it can */
    char        scratch[UTC_TEXT];      /* the text of the value that was asked for last */
} view_t;

/* `path` as in a field_t. False: the event has no field of this name. */
bool    field_own(field_t *f);
bool    field_is_time(const field_t *f);

void    view_open(view_t *v, const msg_event_wrapper_t *w);
bool    view_is_json(view_t *v);
value_t view_value(view_t *v, const field_t *f);        /* stands until the next one is asked for */
json_t *view_json(view_t *v, const field_t *f);         /* a reference of the caller's; never NULL */
void    view_close(view_t *v);
/* Adds to the work. False: the view is refused, now or already. */
bool    view_work(view_t *v, size_t work);

value_t value_of_text(ensign_slice_t text);
/* 2026-01-31, 2026-01-31T12:00, 2026-01-31T12:00:00.5; behind the time of day Z or nothing, which is UTC too,
   or an offset such as +01:00. A blank may stand in the place of the T. */
bool    value_read_time(ensign_slice_t text, value_t *out);
/* False: they are of different types, or one is NULL, OTHER or no number. *order is below, at or above 0. */
bool    value_compare(const value_t *a, const value_t *b, int *order);
#endif
