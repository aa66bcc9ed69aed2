/* publish.c - the publisher that `make small` measures: each line of standard input is an event
 * Run     ENSIGN_ENDPOINT, ENSIGN_CLIENT_ID, ENSIGN_CLIENT_SECRET, ENSIGN_AUTH_URL: publish TOPIC <lines
 * Prints  "ready" before it reads, "stored" when the server has a line; exit 0 when it has all */
#include "small.h"

static ssize_t line_of(char *out, size_t cap)
{
    size_t n = 0;
    while (n < cap && read(STDIN_FILENO, out + n, 1) == 1 && out[n] != '\n') n++;
    return (ssize_t)n;
}

int main(int argc, char **argv)
{
    static ensign_desc_t d;
    static ensign_publisher_desc_t stream;
    static ensign_event_t e;
    static char line[1024];
    ensign_publisher_t pub;
    ensign_error_t why;
    ensign_t *c;

    if (argc != 2) return 2;
    from_environment(&d);
    d.client_id = getenv("ENSIGN_CLIENT_ID");
    d.client_secret = getenv("ENSIGN_CLIENT_SECRET");
    d.auth_url = getenv("ENSIGN_AUTH_URL");
    d.max_handles = 1;
    d.topic_cache = ENSIGN_OFF;
    stream.topic = argv[1];
    stream.max_in_flight = 16;
    stream.buffer_bytes = 4096;
    if (ensign_create(&d, &c, &why) != ENSIGN_OK) return fail(&why);
    pub = ensign_publisher_open(c, &stream);
    say(STDOUT_FILENO, "ready");
    e.mimetype = ENSIGN_MIME_TEXT_PLAIN;
    while ((e.data = ensign_bytes(line, (size_t)line_of(line, sizeof line))).len > 0) {
        if (ensign_publish(c, pub, &e) != ENSIGN_OK) return fail(ensign_error(c));
        if (ensign_publisher_flush(c, pub, 30000) != ENSIGN_OK) return fail(ensign_error(c));
        say(STDOUT_FILENO, "stored");
    }
    ensign_destroy(c);
    return 0;
}
