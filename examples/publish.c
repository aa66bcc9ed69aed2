/* publish.c - publish each line of standard input as one event
 * Shows   ensign_topic_ensure, ensign_await; ensign_wait with a descriptor of your own; AGAIN and ROOM; acks
 * Run     build/ensignd --env-file build/env &         then, when it is ready: . build/env
 *         echo '{"temp": 72}' | build/examples/publish weather         (a schema may follow: Update 1.0.0)
 * Prints  "ack" and the commit time (UTC) for each event that the server has stored; exit 0 when all are
 * Next    subscribe.c */
#define _POSIX_C_SOURCE 200809L
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* [start, end) is not published yet; a longer line goes in pieces */
static struct { char bytes[1 << 20]; size_t start, end; bool eof; } in;

static int fail(const char *what, const ensign_error_t *e)
{
    fprintf(stderr, "publish: %s: %s\n", what, e ? e->text : "no reason was given");
    return 1;
}

/* The next whole line, with its newline; the last one may have none. An empty slice: there is none yet. */
static ensign_slice_t next_line(void)
{
    const char *from = in.bytes + in.start;
    const char *newline = memchr(from, '\n', in.end - in.start);
    ensign_slice_t line = { (const uint8_t *)from, newline ? (size_t)(newline - from) + 1 : 0 };

    if (!newline && (in.eof || in.end - in.start == sizeof in.bytes)) line.len = in.end - in.start;
    return line;
}

static void read_some(void)
{
    ssize_t n;

    memmove(in.bytes, in.bytes + in.start, in.end - in.start);
    in.end -= in.start;
    in.start = 0;
    n = read(STDIN_FILENO, in.bytes + in.end, sizeof in.bytes - in.end);
    in.eof = n <= 0;
    if (n > 0) in.end += (size_t)n;
}

static void print_ack(ensign_time_t t)
{
    char text[32];
    time_t seconds = (time_t)t.seconds;

    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime(&seconds));
    printf("ack %s.%06dZ\n", text, (int)(t.nanos / 1000));
}

/* The topic must be there before the stream opens: the server tells a stream the topics that it knows. */
static int ensure_topic(ensign_t *c, const char *topic)
{
    const ensign_notice_t *n;
    ensign_request_t r = ensign_topic_ensure(c, topic, NULL);

    if (r.id == 0) return fail("topic", ensign_error(c));
    if (ensign_await(c, r.id, 60000, &n) != ENSIGN_OK) return fail("topic", ensign_error(c));
    return n->error ? fail("topic", n->error) : 0;
}

int main(int argc, char **argv)
{
    static ensign_desc_t d;          /* zeroed: every field has its default */
    static ensign_publisher_desc_t pd;
    static ensign_event_t e;
    static ensign_t *c;
    ensign_error_t why;
    ensign_publisher_t p;
    unsigned long put = 0, answered = 0, refused = 0;
    bool room = true;

    if (argc != 2 && argc != 4) return fprintf(stderr, "usage: publish TOPIC [SCHEMA VERSION] < lines\n"), 2;
    if (argc == 4 && ensign_type_parse(argv[2], argv[3], &e.type) != ENSIGN_OK) {
        return fprintf(stderr, "publish: a schema needs a name and a version such as 1.0.0\n"), 2;
    }
    if (ensign_desc_env(&d, &why) != ENSIGN_OK) return fail("environment", &why);
    if (ensign_create(&d, &c, &why) != ENSIGN_OK) return fail("create", &why);
    if (ensure_topic(c, argv[1]) != 0) return 1;
    pd.topic = argv[1];
    p = ensign_publisher_open(c, &pd);
    if (p.id == 0) return fail("open", ensign_error(c));
    for (;;) {
        ensign_poll_t input = { STDIN_FILENO, 0, ENSIGN_READ, 0 };
        const ensign_notice_t *n;
        ensign_slice_t line;

        while (room && (line = next_line()).len > 0) {
            int rc;
            e.data.ptr = line.ptr;
            e.data.len = line.ptr[line.len - 1] == '\n' ? line.len - 1 : line.len;
            e.mimetype = line.ptr[0] == '{' ? ENSIGN_MIME_APPLICATION_JSON : ENSIGN_MIME_TEXT_PLAIN;
            rc = e.data.len > 0 ? ensign_publish(c, p, &e) : ENSIGN_OK; /* an empty line is no event */
            if (rc < 0) return fail("publish", ensign_error(c));
            room = rc == ENSIGN_OK; /* AGAIN: the line stays where it is until ROOM */
            if (room) put += e.data.len > 0, in.start += line.len;
        }
        if (in.eof && in.start == in.end && answered == put) break;
        if (ensign_wait(c, &input, room && !in.eof ? 1 : 0, -1) < 0) return fail("wait", ensign_error(c));
        while ((n = ensign_next(c)) != NULL) {
            if (n->type == ENSIGN_NOTICE_ACK) answered++, print_ack(n->as.ack.committed);
            if (n->type == ENSIGN_NOTICE_NACK) answered++, refused++, fail("nack", n->error);
            if (n->type == ENSIGN_NOTICE_ROOM) room = true;
            if (n->type == ENSIGN_NOTICE_WAITING) fail("waits, goes on trying", n->error);
            if (n->type == ENSIGN_NOTICE_DISCONNECTED) fail("disconnected, goes on trying", n->error);
            if (n->type == ENSIGN_NOTICE_END) return fail("ended", n->error);
            if (n->type == ENSIGN_NOTICE_FAILED) return fail("failed", n->error);
        }
        fflush(stdout);
        if (input.ready) read_some();
    }
    ensign_destroy(c);
    return refused ? 1 : 0;
}
