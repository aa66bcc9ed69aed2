/* survive.c - publish COUNT events to a server that dies and comes back: each ends in exactly one ACK
 *
 *   survive TOPIC COUNT [EVENTS_A_SECOND]
 *
 * The service is told by the ENSIGN_ variables. Says "acked N" on standard error at every hundredth of COUNT,
 * so that the script knows when to strike.
 */
#include "soak.h"

enum { BYTES = 100 };

typedef struct run_t {
    ensign_t *client;
    ensign_publisher_t publisher;
    uint64_t total, next, acked, again, nacked, reopened;
    unsigned char *answers;     /* of each event: how many ACKs */
    char text[240];             /* of the first NACK */
} run_t;

static void publish_some(run_t *r, uint64_t limit)
{
    char data[BYTES];
    ensign_event_t e;
    int rc = ENSIGN_OK;

    memset(&e, 0, sizeof e);
    e.data.ptr = (const uint8_t *)data;
    e.data.len = sizeof data;
    e.mimetype = ENSIGN_MIME_TEXT_PLAIN;
    while (r->next < r->total && r->next < limit && rc == ENSIGN_OK) {
        event_fill(data, sizeof data, r->next);
        e.tag = r->next;
        rc = ensign_publish(r->client, r->publisher, &e);
        if (rc < 0) die("publish of event %" PRIu64 ": %s", r->next, ensign_error(r->client)->text);
        if (rc == ENSIGN_OK) r->next++;
    }
}

static void take(run_t *r, const ensign_notice_t *n)
{
    switch (n->type) {
    case ENSIGN_NOTICE_ACK:
        if (n->as.ack.tag >= r->total) die("ack of tag %" PRIu64 ", never published", n->as.ack.tag);
        if (r->answers[n->as.ack.tag]++) r->again++;
        if (++r->acked % (r->total / 100) == 0) fprintf(stderr, "acked %" PRIu64 "\n", r->acked);
        break;
    case ENSIGN_NOTICE_NACK:
        if (r->nacked++ == 0) snprintf(r->text, sizeof r->text, "%s", n->error ? n->error->text : "no text");
        break;
    case ENSIGN_NOTICE_OPEN:
        if (n->as.open.times > 1) r->reopened++;
        break;
    case ENSIGN_NOTICE_DISCONNECTED:
        fprintf(stderr, "disconnected: %s\n", n->error ? n->error->text : "no reason");
        break;
    default:
        if (n->last) die("ended: %s", n->error ? n->error->text : "no reason");
    }
}

static void run(run_t *r, const char *topic, uint64_t per_second)
{
    ensign_publisher_desc_t pd;
    uint64_t begin, since, seen = 0;

    topic_ensure(r->client, topic);
    memset(&pd, 0, sizeof pd);
    pd.topic = topic;
    r->publisher = ensign_publisher_open(r->client, &pd);
    if (r->publisher.id == 0) die("publisher: %s", ensign_error(r->client)->text);
    begin = since = ensign_now_ms();
    while (r->acked + r->nacked < r->total) {
        const ensign_notice_t *n;
        publish_some(r, due(begin, per_second));
        turn(&r->client, 1, per_second ? PACED_MS : TURN_MS);
        while ((n = ensign_next(r->client)) != NULL) take(r, n);
        if (r->acked != seen) since = ensign_now_ms();
        else if (ensign_now_ms() - since > STALL_MS)
            die("nothing came for %d ms: %" PRIu64 " acked", STALL_MS, r->acked);
        seen = r->acked;
    }
}

/* No answer may come late, either: what is still under way is given a moment of its own. */
static void drain(run_t *r)
{
    const ensign_notice_t *n = NULL;

    if (ensign_publisher_drain(r->client, r->publisher, STALL_MS) != ENSIGN_OK)
        die("drain: %s", ensign_error(r->client)->text);
    while (!n || n->type != ENSIGN_NOTICE_DRAINED) {
        if (ensign_await(r->client, r->publisher.id, STALL_MS, &n) != ENSIGN_OK)
            die("drain: %s", ensign_error(r->client)->text);
        take(r, n);
    }
    result(n->as.drained.acked == r->total && n->as.drained.left == 0,
           "drained: %" PRIu64 " acked, %" PRIu64 " left", n->as.drained.acked, n->as.drained.left);
}

int main(int argc, char **argv)
{
    static run_t r;
    ensign_desc_t d;
    uint64_t missing = 0;

    r.total = argc >= 3 ? strtoull(argv[2], NULL, 10) : 0;
    if (argc > 4 || r.total < 100) {
        fprintf(stderr, "survive TOPIC COUNT [EVENTS_A_SECOND]     COUNT from 100\n");
        return 2;
    }
    memset(&d, 0, sizeof d);
    if ((size_t)r.total != r.total) die("no memory for %" PRIu64 " events", r.total);
    r.answers = (unsigned char *)calloc((size_t)r.total, 1);
    if (!r.answers) die("no memory for %" PRIu64 " events", r.total);
    r.client = client_open(&d);
    run(&r, argv[1], argc == 4 ? strtoull(argv[3], NULL, 10) : 0);
    drain(&r);
    for (uint64_t i = 0; i < r.total; i++) missing += r.answers[i] == 0;
    result(missing == 0 && r.again == 0 && r.nacked == 0,
           "%" PRIu64 " events, one ACK each: %" PRIu64 " without, %" PRIu64 " twice, %" PRIu64 " NACKs%s%s",
           r.total, missing, r.again, r.nacked, r.nacked ? ", the first: " : "", r.text);
    result(r.reopened > 0, "the publisher was reopened %" PRIu64 " times", r.reopened);
    ensign_destroy(r.client);
    free(r.answers);
    return failures ? 1 : 0;
}
