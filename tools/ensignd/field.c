/* field.c - see field.h */
#include "field.h"
#include "ids.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* What it takes to look up a field, to read an entry of the metadata, and to parse a value of JSON. */
#define LOOK_UP_WORK 64
#define PARSE_WORK 64

/* As the path of a field has them: a NUL between the parts. */
static const struct { const char *path; size_t size; own_t own; } own_fields[] = {
#define OWN(text, own) { text, sizeof text, own }
    OWN("id", OWN_ID), OWN("offset", OWN_OFFSET), OWN("epoch", OWN_EPOCH), OWN("key", OWN_KEY),
    OWN("is_duplicate", OWN_IS_DUPLICATE), OWN("committed", OWN_COMMITTED), OWN("created", OWN_CREATED),
    OWN("data", OWN_DATA), OWN("mimetype", OWN_MIMETYPE), OWN("type\0name", OWN_TYPE_NAME),
    OWN("type\0version", OWN_TYPE_VERSION), OWN("type\0major", OWN_TYPE_MAJOR),
    OWN("type\0minor", OWN_TYPE_MINOR), OWN("type\0patch", OWN_TYPE_PATCH),
    OWN("publisher\0id", OWN_PUBLISHER_ID), OWN("publisher\0address", OWN_PUBLISHER_ADDRESS),
    OWN("publisher\0client_id", OWN_PUBLISHER_CLIENT_ID),
    OWN("publisher\0user_agent", OWN_PUBLISHER_USER_AGENT),
#undef OWN
};

static size_t path_size(const field_t *f)
{
    const char *end = f->path;
    for (size_t i = 0; i < f->parts; i++) end += strlen(end) + 1;
    return (size_t)(end - f->path);
}

bool field_own(field_t *f)
{
    size_t size = path_size(f);

    if (f->parts == 2 && strcmp(f->path, "metadata") == 0) {
        f->own = OWN_METADATA;
        f->path += sizeof "metadata";
        f->parts = 1;
        return true;
    }
    for (size_t i = 0; i < sizeof own_fields / sizeof own_fields[0]; i++) {
        if (own_fields[i].size != size || memcmp(own_fields[i].path, f->path, size) != 0) continue;
        f->own = own_fields[i].own;
        return true;
    }
    return false;
}

bool field_is_time(const field_t *f)
{
    return f->own == OWN_CREATED || f->own == OWN_COMMITTED;
}

/* ---- values */

static value_t value_of(value_kind_t kind)
{
    value_t v;
    memset(&v, 0, sizeof v);
    v.kind = kind;
    return v;
}

value_t value_of_text(ensign_slice_t text)
{
    value_t v = value_of(VALUE_TEXT);
    v.text = text;
    return v;
}

static value_t value_of_bool(bool b)
{
    value_t v = value_of(VALUE_BOOL);
    v.b = b;
    return v;
}

static value_t value_of_unsigned(uint64_t n)
{
    value_t v = value_of(n <= INT64_MAX ? VALUE_INT : VALUE_REAL);
    v.i = (int64_t)(n & INT64_MAX);
    v.d = (double)n;
    return v;
}

static value_t value_of_time(bool has, const msg_timestamp_t *t)
{
    value_t v = value_of(has ? VALUE_TIME : VALUE_NULL);
    v.i = t->seconds;
    v.nanos = t->nanos;
    return v;
}

static value_t value_of_json(const json_t *j)
{
    value_t v = value_of(VALUE_OTHER);

    switch (j ? json_typeof(j) : JSON_NULL) {
    case JSON_NULL: return value_of(VALUE_NULL);
    case JSON_TRUE: return value_of_bool(true);
    case JSON_FALSE: return value_of_bool(false);
    case JSON_STRING: return value_of_text(slice_of(json_string_value(j), json_string_length(j)));
    case JSON_INTEGER:
        v.kind = VALUE_INT;
        v.i = json_integer_value(j);
        return v;
    case JSON_REAL:
        v.kind = VALUE_REAL;
        v.d = json_real_value(j);
        return v;
    case JSON_OBJECT:
    case JSON_ARRAY: break;
    }
    return v;
}

/* ---- comparing */

static int order_of(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* Exactly: a double holds no more than 53 bits of the integer. */
static int order_int_real(int64_t i, double d)
{
    const double limit = 9223372036854775808.0;     /* 2^63 */
    int64_t whole;

    if (d >= limit) return -1;
    if (d < -limit) return 1;
    whole = (int64_t)d;
    if (i != whole) return order_of(i, whole);
    return (d < (double)whole) - (d > (double)whole);
}

static bool compare_numbers(const value_t *a, const value_t *b, int *order)
{
    if ((a->kind == VALUE_REAL && isnan(a->d)) || (b->kind == VALUE_REAL && isnan(b->d))) return false;
    if (a->kind == VALUE_INT && b->kind == VALUE_INT) *order = order_of(a->i, b->i);
    else if (a->kind == VALUE_INT) *order = order_int_real(a->i, b->d);
    else if (b->kind == VALUE_INT) *order = -order_int_real(b->i, a->d);
    else *order = (a->d > b->d) - (a->d < b->d);
    return true;
}

static bool is_number(const value_t *v)
{
    return v->kind == VALUE_INT || v->kind == VALUE_REAL;
}

bool value_compare(const value_t *a, const value_t *b, int *order)
{
    if (is_number(a) && is_number(b)) return compare_numbers(a, b, order);
    if (a->kind != b->kind) return false;
    switch (a->kind) {
    case VALUE_BOOL: *order = (int)a->b - (int)b->b; return true;
    case VALUE_TEXT: *order = slice_order(a->text, b->text); return true;
    case VALUE_TIME:
        *order = a->i != b->i ? order_of(a->i, b->i) : order_of(a->nanos, b->nanos);
        return true;
    case VALUE_NULL:
    case VALUE_INT:
    case VALUE_REAL:
    case VALUE_OTHER: break;
    }
    return false;
}

/* ---- times */

/* Takes `digits` digits, and gives -1 where they are not there. */
static int take_digits(ensign_slice_t *s, size_t digits)
{
    int v = 0;

    if (s->len < digits) return -1;
    for (size_t i = 0; i < digits; i++) {
        if (s->ptr[i] < '0' || s->ptr[i] > '9') return -1;
        v = 10 * v + (s->ptr[i] - '0');
    }
    *s = slice_of(s->ptr + digits, s->len - digits);
    return v;
}

static bool take_char(ensign_slice_t *s, char c)
{
    if (s->len == 0 || s->ptr[0] != (uint8_t)c) return false;
    *s = slice_of(s->ptr + 1, s->len - 1);
    return true;
}

/* Of the Gregorian calendar, from 1970-01-01 on. The year is counted from March, so that the leap day is its
   last one. */
static int64_t days_to(int year, int month, int day)
{
    int y = year - (month <= 2), shifted = (month + 9) % 12;
    return 365 * (int64_t)y + y / 4 - y / 100 + y / 400 + (153 * shifted + 2) / 5 + day - 1 - 719468;
}

static bool read_date(ensign_slice_t *s, int64_t *seconds)
{
    static const int lengths[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    int year = take_digits(s, 4), month = take_char(s, '-') ? take_digits(s, 2) : -1;
    int day = take_char(s, '-') ? take_digits(s, 2) : -1;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    if (year < 1 || month < 1 || month > 12 || day < 1 || day > lengths[month - 1]) return false;
    if (month == 2 && day == 29 && !leap) return false;
    *seconds = 86400 * days_to(year, month, day);
    return true;
}

/* A point, and 1 to 9 digits; or nothing. */
static bool read_fraction(ensign_slice_t *s, int32_t *nanos)
{
    int32_t unit = 100000000;
    int digit;

    *nanos = 0;
    if (!take_char(s, '.')) return true;
    for (; unit && (digit = take_digits(s, 1)) >= 0; unit /= 10) *nanos += digit * unit;
    return unit != 100000000;
}

static bool read_clock(ensign_slice_t *s, int64_t *seconds, int32_t *nanos)
{
    int hour = take_digits(s, 2), minute = take_char(s, ':') ? take_digits(s, 2) : -1, second = 0;

    if (take_char(s, ':')) second = take_digits(s, 2);
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) return false;
    *seconds += 3600 * hour + 60 * minute + second;
    return read_fraction(s, nanos);
}

static bool read_zone(ensign_slice_t *s, int64_t *seconds)
{
    bool east = take_char(s, '+'), west = !east && take_char(s, '-');
    int hour, minute;

    if (!east && !west) {
        take_char(s, 'Z');
        return true;
    }
    hour = take_digits(s, 2);
    minute = take_char(s, ':') ? take_digits(s, 2) : -1;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59) return false;
    *seconds += (east ? -60 : 60) * (60 * hour + minute);
    return true;
}

static bool read_time_of_day(ensign_slice_t s, value_t *v)
{
    return (take_char(&s, 'T') || take_char(&s, ' ')) && read_clock(&s, &v->i, &v->nanos) &&
           read_zone(&s, &v->i) && s.len == 0;
}

bool value_read_time(ensign_slice_t text, value_t *out)
{
    value_t v = value_of(VALUE_TIME);

    if (!read_date(&text, &v.i) || (text.len && !read_time_of_day(text, &v))) return false;
    *out = v;
    return true;
}

/* ---- the event */

static bool is_plain(const msg_event_wrapper_t *w)
{
    return !(w->has_compression && w->compression.algorithm) &&
           !(w->has_encryption && w->encryption.encryption_algorithm);
}

void view_open(view_t *v, const msg_event_wrapper_t *w)
{
    memset(v, 0, sizeof *v);
    v->wrapper = w;
    if (!is_plain(w) || !msg_decode(MSG_EVENT, &v->event, w->event)) memset(&v->event, 0, sizeof v->event);
}

void view_close(view_t *v)
{
    json_decref(v->data);
    v->data = NULL;
}

bool view_work(view_t *v, size_t work)
{
    v->work += work;
    if (v->work > VIEW_WORK_MAX && !v->refused)
        v->refused = "the query would look at more than 32 MiB for it; name fewer fields, or test fewer with "
                     "LIKE";
    return !v->refused;
}

/* White space of JSON: RFC 8259, section 2. */
static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool may_be_object(ensign_slice_t data)
{
    size_t i = 0;
    while (i < data.len && is_blank(data.ptr[i])) i++;
    return i < data.len && data.ptr[i] == '{';
}

/* Values take far more memory than their text. In front of each but the outermost stands a comma, or the
   bracket of a list or object that is not empty. */
static size_t count_values(ensign_slice_t data)
{
    size_t count = 1;
    bool quoted = false;
    uint8_t before = 0;                 /* the last one that is no white space */

    for (size_t i = 0; i < data.len; i++) {
        uint8_t c = data.ptr[i];
        if (c == '"') quoted = !quoted;
        else if (quoted && c == '\\') i++;
        else if (!quoted && (c == ',' || c == '[' || c == '{')) count++;
        else if ((c == ']' || c == '}') && (before == '[' || before == '{')) count--;
        if (!is_blank(c)) before = quoted ? '"' : c;
    }
    return count;
}

/* An integer of more than 64 bits is no reason to lose the event: then all its numbers are doubles. */
static void parse_data(view_t *v)
{
    const char *text = (const char *)v->event.data.ptr;
    size_t len = v->event.data.len, count;
    json_error_t error;

    v->parsed = true;
    if (!may_be_object(v->event.data)) return;
    count = count_values(v->event.data);
    view_work(v, len + PARSE_WORK * count);
    if (count > VIEW_VALUES_MAX) {
        v->refused = "its JSON has more than 131072 values, so only its @fields can be queried";
        return;
    }
    v->data = json_loadb(text, len, JSON_ALLOW_NUL, &error);
    if (!v->data && json_error_code(&error) == json_error_numeric_overflow)
        v->data = json_loadb(text, len, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
}

bool view_is_json(view_t *v)
{
    if (!v->parsed) parse_data(v);
    return v->data != NULL;
}

static json_t *item_of(const json_t *array, const char *part)
{
    size_t at = 0;

    for (const char *p = part; *p; p++) {
        if (*p < '0' || *p > '9' || at > json_array_size(array)) return NULL;
        at = 10 * at + (size_t)(*p - '0');
    }
    return *part ? json_array_get(array, at) : NULL;
}

/* NULL: there is no such field. */
static json_t *find(view_t *v, const field_t *f)
{
    const char *part = f->path;
    json_t *at = view_is_json(v) ? v->data : NULL;

    for (size_t i = 0; at && i < f->parts; i++, part += strlen(part) + 1) {
        view_work(v, strlen(part));
        at = json_is_array(at) ? item_of(at, part) : json_object_get(at, part);
    }
    return at;
}

/* Of several entries with the same key the last one counts, as in every map of protobuf. */
static value_t metadata_value(view_t *v, const char *key)
{
    value_t found = value_of(VALUE_NULL);
    msg_event_metadata_entry_t entry;
    ensign_slice_t item;
    size_t at = 0;

    while (msg_next(v->event.metadata, MSG_EVENT_METADATA_TAG, &at, &item)) {
        if (!view_work(v, LOOK_UP_WORK + item.len)) break;
        if (msg_decode(MSG_EVENT_METADATA_ENTRY, &entry, item) && slice_is(entry.key, key))
            found = value_of_text(entry.value);
    }
    return found;
}

static value_t id_value(view_t *v)
{
    rlid_t id;

    if (v->wrapper->id.len != sizeof id.b) return value_of(VALUE_NULL);
    memcpy(id.b, v->wrapper->id.ptr, sizeof id.b);
    rlid_text(&id, v->scratch);
    return value_of_text(slice_text(v->scratch));
}

static value_t version_value(view_t *v)
{
    const msg_type_t *t = &v->event.type;

    snprintf(v->scratch, sizeof v->scratch, "%lu.%lu.%lu", (unsigned long)t->major_version,
             (unsigned long)t->minor_version, (unsigned long)t->patch_version);
    return value_of_text(slice_text(v->scratch));
}

static value_t type_value(view_t *v, own_t own)
{
    const msg_type_t *t = &v->event.type;

    if (!v->event.has_type) return value_of(VALUE_NULL);
    if (own == OWN_TYPE_NAME) return value_of_text(t->name);
    if (own == OWN_TYPE_VERSION) return version_value(v);
    return value_of_unsigned(own == OWN_TYPE_MAJOR   ? t->major_version
                             : own == OWN_TYPE_MINOR ? t->minor_version
                                                     : t->patch_version);
}

static value_t publisher_value(const view_t *v, own_t own)
{
    const msg_publisher_t *p = &v->wrapper->publisher;
    ensign_slice_t text = own == OWN_PUBLISHER_ID          ? p->publisher_id
                          : own == OWN_PUBLISHER_ADDRESS   ? p->ipaddr
                          : own == OWN_PUBLISHER_CLIENT_ID ? p->client_id
                                                           : p->user_agent;
    return v->wrapper->has_publisher && text.len ? value_of_text(text) : value_of(VALUE_NULL);
}

value_t view_value(view_t *v, const field_t *f)
{
    const msg_event_wrapper_t *w = v->wrapper;

    view_work(v, LOOK_UP_WORK);
    switch (f->own) {
    case OWN_NONE: return value_of_json(find(v, f));
    case OWN_ID: return id_value(v);
    case OWN_OFFSET: return value_of_unsigned(w->offset);
    case OWN_EPOCH: return value_of_unsigned(w->epoch);
    case OWN_KEY: return w->key.len ? value_of_text(w->key) : value_of(VALUE_NULL);
    case OWN_IS_DUPLICATE: return value_of_bool(w->is_duplicate);
    case OWN_COMMITTED: return value_of_time(w->has_committed, &w->committed);
    case OWN_CREATED: return value_of_time(v->event.has_created, &v->event.created);
    case OWN_DATA: return value_of_text(v->event.data);
    case OWN_MIMETYPE: return value_of_text(slice_text(ensign_mime_name(v->event.mimetype)));
    case OWN_METADATA: return metadata_value(v, f->path);
    case OWN_TYPE_NAME:
    case OWN_TYPE_VERSION:
    case OWN_TYPE_MAJOR:
    case OWN_TYPE_MINOR:
    case OWN_TYPE_PATCH: return type_value(v, f->own);
    case OWN_PUBLISHER_ID:
    case OWN_PUBLISHER_ADDRESS:
    case OWN_PUBLISHER_CLIENT_ID:
    case OWN_PUBLISHER_USER_AGENT: return publisher_value(v, f->own);
    }
    return value_of(VALUE_NULL);
}

/* Bytes that are no text have no place in JSON, and give null. */
json_t *view_json(view_t *v, const field_t *f)
{
    json_t *found = f->own == OWN_NONE ? find(v, f) : NULL;
    char time[UTC_TEXT];
    value_t x;

    if (f->own == OWN_NONE) {
        view_work(v, LOOK_UP_WORK);
        return found ? json_incref(found) : json_null();
    }
    x = view_value(v, f);
    switch (x.kind) {
    case VALUE_BOOL: return json_boolean(x.b);
    case VALUE_INT: return json_integer(x.i);
    case VALUE_REAL: return json_real(x.d);
    case VALUE_TEXT:
        view_work(v, x.text.len);
        found = json_stringn(x.text.len ? (const char *)x.text.ptr : "", x.text.len);
        break;
    case VALUE_TIME:
        if (utc_text(x.i, x.nanos, time)) found = json_string(time);
        break;
    case VALUE_NULL:
    case VALUE_OTHER: break;
    }
    return found ? found : json_null();
}
