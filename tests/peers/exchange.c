/* exchange.c - the ensign.h side of tests/peers/cross: events as lines of text
 *
 *   exchange create TOPIC        makes the topic, unless it is there
 *   exchange send TOPIC          publishes what standard input says, waits for every ack, prints "acked N"
 *   exchange receive TOPIC N     prints the events that come, each acked; ends after N, greetings not counted
 *   exchange query SQL           prints the rows
 *   exchange member TOPIC GROUP  a member of a group until standard input ends, see below
 *
 * One event a line, sent and received alike, the texts in hex:
 *   MIMETYPE TYPE MAJOR.MINOR.PATCH SECONDS.NANOSECONDS KEY=VALUE[,KEY=VALUE...] DATA       "-" is nothing
 * A greeting is an event whose data is "hello".
 *
 * To members an event says what they shall do with it: its data are "NUMBER NAME CODE". The member of that
 * name, which is here ensign.h, nacks it with that code when it gets it for the first time; else it is acked.
 * The member prints "open" once it is there, then "NUMBER acked" or "NUMBER nacked".
 * The service is told by the ENSIGN_ variables.
 */
#define ENSIGN_IMPLEMENTATION
#include "ensign.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 256 * 1024, PAIRS_MAX = 16, WAIT_MS = 30000, NUMBERS = 65536 };

static int fail(const char *what, const char *text)
{
    fprintf(stderr, "exchange: %s: %s\n", what, text);
    return 1;
}

/* ------------------------------------------------------------------ lines */
static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* In place: the bytes take half the room of their digits, and a NUL fits behind them. "-" is no text. */
static bool from_hex(char *text, ensign_slice_t *out)
{
    size_t n = 0;

    if (strcmp(text, "-") != 0)
        for (const char *p = text; *p; p += 2, n++) {
            int high = hex_digit(p[0]), low = high < 0 ? -1 : hex_digit(p[1]);
            if (low < 0) return false;
            text[n] = (char)(high * 16 + low);
        }
    text[n] = '\0';
    out->ptr = (const uint8_t *)text;
    out->len = n;
    return true;
}

static bool parse_pairs(char *text, ensign_pair_t *pairs, size_t *count)
{
    ensign_slice_t bytes;

    *count = 0;
    if (strcmp(text, "-") == 0) return true;
    for (char *next = text; next && *count < PAIRS_MAX; (*count)++) {
        char *key = next, *value = strchr(key, '=');
        if (!value) return false;
        *value++ = '\0';
        next = strchr(value, ',');
        if (next) *next++ = '\0';
        if (!from_hex(key, &bytes) || !from_hex(value, &bytes)) return false;
        pairs[*count].key = key;
        pairs[*count].value = value;
    }
    return true;
}

static bool parse_version(const char *text, ensign_type_t *type)
{
    return sscanf(text, "%" SCNu32 ".%" SCNu32 ".%" SCNu32, &type->major, &type->minor, &type->patch) == 3;
}

static bool parse_event(char *line, ensign_event_t *e, ensign_pair_t *pairs)
{
    char *field[6];

    for (int i = 0; i < 6; i++)
        if ((field[i] = strtok(i ? NULL : line, " \n")) == NULL) return false;
    memset(e, 0, sizeof *e);
    e->mimetype = (int32_t)strtol(field[0], NULL, 10);
    e->pairs = pairs;
    return from_hex(field[1], &e->type.name) && parse_version(field[2], &e->type) &&
           sscanf(field[3], "%" SCNd64 ".%" SCNd32, &e->created.seconds, &e->created.nanos) == 2 &&
           parse_pairs(field[4], pairs, &e->pair_count) && from_hex(field[5], &e->data);
}

static void print_hex(ensign_slice_t s)
{
    if (s.len == 0) putchar('-');
    for (size_t i = 0; i < s.len; i++) printf("%02x", s.ptr[i]);
}

static void print_event(const ensign_event_t *e)
{
    ensign_slice_t key, value;
    size_t at = 0;
    bool any = false;

    printf("%" PRId32 " ", e->mimetype);
    print_hex(e->type.name);
    printf(" %" PRIu32 ".%" PRIu32 ".%" PRIu32 " %" PRId64 ".%09" PRId32 " ", e->type.major, e->type.minor,
           e->type.patch, e->created.seconds, e->created.nanos);
    for (; ensign_metadata_next(e, &at, &key, &value); any = true) {
        if (any) putchar(',');
        print_hex(key);
        putchar('=');
        print_hex(value);
    }
    printf("%s ", any ? "" : "-");
    print_hex(e->data);
    putchar('\n');
    fflush(stdout);
}

/* ------------------------------------------------------------------ what is asked */
static const ensign_notice_t *await(ensign_t *c, uint32_t handle)
{
    const ensign_notice_t *n = NULL;
    int rc = ensign_await(c, handle, WAIT_MS, &n);

    if (rc == ENSIGN_OK) return n;
    fail(ensign_result_name(rc), ensign_error(c)->text);
    return NULL;
}

static int create(ensign_t *c, const char *topic)
{
    ensign_request_t r = ensign_topic_ensure(c, topic, NULL);
    const ensign_notice_t *n = r.id ? await(c, r.id) : NULL;

    if (r.id == 0) return fail("create", ensign_error(c)->text);
    if (n && n->error) return fail("create", n->error->text);
    return n ? 0 : 1;
}

static int publish_lines(ensign_t *c, ensign_publisher_t p, uint64_t *count)
{
    static char line[LINE_MAX_BYTES];
    ensign_pair_t pairs[PAIRS_MAX];
    ensign_event_t e;

    for (*count = 0; fgets(line, sizeof line, stdin); (*count)++) {
        if (!parse_event(line, &e, pairs))
            return fail("standard input", "a line is not MIMETYPE TYPE VERSION CREATED PAIRS DATA");
        e.tag = *count;
        if (ensign_publish(c, p, &e) != ENSIGN_OK) return fail("publish", ensign_error(c)->text);
    }
    return 0;
}

static int send_events(ensign_t *c, const char *topic)
{
    ensign_publisher_desc_t d = { .topic = topic };
    ensign_publisher_t p = ensign_publisher_open(c, &d);
    const ensign_notice_t *n;
    uint64_t count, acked = 0;

    if (p.id == 0) return fail("publisher", ensign_error(c)->text);
    if (publish_lines(c, p, &count) != 0) return 1;
    while (acked < count) {
        if ((n = await(c, p.id)) == NULL) return 1;
        if (n->type == ENSIGN_NOTICE_NACK || n->type == ENSIGN_NOTICE_END)
            return fail("not acked", n->error ? n->error->text : "no reason was given");
        if (n->type != ENSIGN_NOTICE_ACK) continue;
        if (n->as.ack.tag != acked) return fail("ack", "its tag is not that of the oldest event");
        if (n->as.ack.committed.seconds == 0) return fail("ack", "without a commit time");
        acked++;
    }
    printf("acked %" PRIu64 "\n", acked);
    return 0;
}

static bool is_greeting(ensign_slice_t data)
{
    return data.len == 5 && memcmp(data.ptr, "hello", 5) == 0;
}

static int receive_events(ensign_t *c, const char *topic, long count)
{
    static const ensign_rlid_t no_id;
    ensign_subscription_desc_t d = { .topics = &topic, .topic_count = 1 };
    ensign_subscription_t s = ensign_subscription_open(c, &d);
    const ensign_notice_t *n;

    if (s.id == 0) return fail("subscribe", ensign_error(c)->text);
    for (long left = count; left > 0;) {
        if ((n = await(c, s.id)) == NULL) return 1;
        if (n->type == ENSIGN_NOTICE_END) return fail("subscription", n->error ? n->error->text : "it ended");
        if (n->type != ENSIGN_NOTICE_EVENT) continue;
        if (memcmp(&n->as.event->id, &no_id, sizeof no_id) == 0) return fail("event", "without an id");
        if (n->as.event->committed.seconds == 0) return fail("event", "without a commit time");
        print_event(n->as.event);
        if (ensign_ack(c, s, n->as.event->token) != ENSIGN_OK) return fail("ack", ensign_error(c)->text);
        left -= !is_greeting(n->as.event->data);
    }
    if (ensign_close(c, s.id, WAIT_MS) != ENSIGN_OK) return fail("close", ensign_error(c)->text);
    while ((n = await(c, s.id)) != NULL && !n->last) continue; /* the acks that wait go out before END */
    if (!n) return 1;
    return n->error ? fail("close", n->error->text) : 0;
}

/* ------------------------------------------------------------------ a member */
static void say(const char *line)
{
    puts(line);
    fflush(stdout);
}

static int answer_as_told(ensign_t *c, ensign_subscription_t s, const ensign_event_t *e)
{
    static bool nacked[NUMBERS];
    unsigned number = 0;
    char text[64] = "", name[32] = "";
    int code = 0, rc;
    bool refuse;

    memcpy(text, e->data.ptr, e->data.len < sizeof text ? e->data.len : sizeof text - 1);
    if (sscanf(text, "%u %31s %d", &number, name, &code) != 3 || number >= NUMBERS)
        return fail("event", "its data are not NUMBER NAME CODE");
    refuse = strcmp(name, "ensign.h") == 0 && !nacked[number];
    nacked[number] |= refuse;
    snprintf(text, sizeof text, "%u %s", number, refuse ? "nacked" : "acked");
    say(text);
    rc = refuse ? ensign_nack(c, s, e->token, code) : ensign_ack(c, s, e->token);
    return rc == ENSIGN_OK ? 0 : fail("answer", ensign_error(c)->text);
}

static int member(ensign_t *c, const char *topic, const char *group)
{
    ensign_subscription_desc_t d = { .topics = &topic, .topic_count = 1, .group = group };
    ensign_subscription_t s = ensign_subscription_open(c, &d);
    ensign_poll_t input = { .fd = 0, .want = ENSIGN_READ };
    const ensign_notice_t *n;

    if (s.id == 0) return fail("subscribe", ensign_error(c)->text);
    while (!input.ready) {
        if (ensign_wait(c, &input, 1, -1) < 0) return fail("wait", ensign_error(c)->text);
        while ((n = ensign_next_of(c, s.id)) != NULL) {
            if (n->last) return fail("subscription", n->error ? n->error->text : "it ended");
            if (n->type == ENSIGN_NOTICE_OPEN) say("open");
            if (n->type == ENSIGN_NOTICE_EVENT && answer_as_told(c, s, n->as.event) != 0) return 1;
        }
    }
    if (ensign_close(c, s.id, WAIT_MS) != ENSIGN_OK) return fail("close", ensign_error(c)->text);
    while ((n = await(c, s.id)) != NULL && !n->last) continue; /* the acks that wait go out before END */
    return n ? 0 : 1;
}

/* ------------------------------------------------------------------ a query */
static int print_rows(ensign_t *c, const char *sql)
{
    ensign_query_desc_t d = { .sql = sql };
    ensign_query_t q = ensign_query_open(c, &d);
    const ensign_notice_t *n;
    uint64_t rows = 0;

    if (q.id == 0) return fail("query", ensign_error(c)->text);
    while ((n = await(c, q.id)) != NULL) {
        if (n->error) return fail("query", n->error->text);
        if (n->type == ENSIGN_NOTICE_END)
            return n->as.end.count == rows ? 0 : fail("query", "END counts other rows");
        if (n->type != ENSIGN_NOTICE_EVENT) continue;
        print_event(n->as.event);
        rows++;
    }
    return 1;
}

int main(int argc, char **argv)
{
    ensign_desc_t d = { 0 };
    ensign_error_t why = { 0 };
    ensign_t *c = NULL;
    int rc = 2;

    if (ensign_desc_env(&d, &why) != ENSIGN_OK || ensign_create(&d, &c, &why) != ENSIGN_OK)
        return fail("client", why.text);
    if (argc == 3 && strcmp(argv[1], "create") == 0) rc = create(c, argv[2]);
    else if (argc == 3 && strcmp(argv[1], "send") == 0) rc = send_events(c, argv[2]);
    else if (argc == 4 && strcmp(argv[1], "receive") == 0)
        rc = receive_events(c, argv[2], strtol(argv[3], NULL, 10));
    else if (argc == 3 && strcmp(argv[1], "query") == 0) rc = print_rows(c, argv[2]);
    else if (argc == 4 && strcmp(argv[1], "member") == 0) rc = member(c, argv[2], argv[3]);
    else
        fprintf(stderr, "usage: exchange create TOPIC | send TOPIC | receive TOPIC N | query SQL | "
                        "member TOPIC GROUP\n");
    ensign_destroy(c);
    return rc;
}
