/* publish.c - ensign publish: arguments, files and lines become events; what came of them is counted
 *
 * Memory is constant: a line waits in the input's buffer until the publisher's ring takes it, and while it
 * waits nothing more is read. */
#include "from_json.h"
#include "input.h"
#include "session.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TURN_EVENTS 1024        /* taken from the source between two looks at the network */
#define NACKS_SHOWN 10
#define PROGRESS_MS 200
#define PROGRESS_SLOW_MS 1000   /* where each line of it stays */
#define PART_TEXT (NUMBER_TEXT + 48)    /* of the summary */

typedef enum { FROM_ARGS, FROM_FILES, FROM_LINES /* JSON, too */ } source_t;

typedef struct publish_t {
    session_t s;
    const options_t *o;
    ensign_publisher_t pub;
    ensign_event_t e;           /* its data changes, the rest is the same for all */
    ensign_pair_t *pairs;
    source_t source;
    size_t   at;                /* in the arguments, the files */
    input_t  in;
    from_json_t json;           /* what a line of --from-json becomes */
    uint8_t *whole;             /* a file as one event */
    bool     pending;           /* e is not accepted yet */
    bool     room, dry, done;   /* the ring has room; the input has nothing now; nor ever will */
    bool     closing, ended;
    bool     progress;
    uint64_t put, bytes;        /* accepted */
    uint64_t nacked;            /* all that ended without an ack: the two below, and those in doubt */
    uint64_t refused, not_sent; /* by the server; never handed to a connection */
    int      first_refusal;
    ensign_stats_t stats;
    uint64_t start_ms, shown_ms;
} publish_t;

/* ---- what the options say of the events */

static int32_t mime_of_ending(const char *path)
{
    static const struct { const char *ending; int32_t mime; } known[] = {
        { ".txt", ENSIGN_MIME_TEXT_PLAIN }, { ".csv", ENSIGN_MIME_TEXT_CSV },
        { ".html", ENSIGN_MIME_TEXT_HTML }, { ".ics", ENSIGN_MIME_TEXT_CALENDAR },
        { ".json", ENSIGN_MIME_APPLICATION_JSON }, { ".jsonl", ENSIGN_MIME_APPLICATION_JSON_LINES },
        { ".ndjson", ENSIGN_MIME_APPLICATION_JSON_LINES }, { ".jsonld", ENSIGN_MIME_APPLICATION_JSON_LD },
        { ".xml", ENSIGN_MIME_APPLICATION_XML }, { ".parquet", ENSIGN_MIME_APPLICATION_PARQUET },
        { ".avro", ENSIGN_MIME_APPLICATION_AVRO }, { ".pdf", ENSIGN_MIME_APPLICATION_PDF },
        { ".jar", ENSIGN_MIME_APPLICATION_JAVA_ARCHIVE }, { ".bson", ENSIGN_MIME_APPLICATION_BSON },
    };
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');

    for (size_t i = 0; dot && i < COUNT_OF(known); i++)
        if (strcasecmp(dot, known[i].ending) == 0) return known[i].mime;
    return ENSIGN_MIME_APPLICATION_OCTET_STREAM;
}

static int read_mime(const options_t *o, int32_t *out)
{
    uint64_t number;

    *out = o->ndjson ? ENSIGN_MIME_APPLICATION_JSON : ENSIGN_MIME_TEXT_PLAIN;
    if (!o->mimetype) return EXIT_DONE;
    if (text_to_u64(o->mimetype, &number) && number <= INT32_MAX) {
        *out = (int32_t)number;
        return EXIT_DONE;
    }
    if (ensign_mime_parse(ensign_str(o->mimetype), out) == ENSIGN_OK) return EXIT_DONE;
    return options_refuse(
        o,
        "--mimetype %s: the service does not know this type; give one such as application/json "
        "or text/csv, or a number: 1000 to 1009 are for formats of your own",
        o->mimetype);
}

static int read_type(const options_t *o, ensign_type_t *out)
{
    const char *at = o->type ? strrchr(o->type, '@') : NULL;
    size_t len = at ? (size_t)(at - o->type) : 0;

    if (!o->type) return EXIT_DONE;
    if (at && ensign_type_parse(x_keep_text(o->type, len), at + 1, out) == ENSIGN_OK) return EXIT_DONE;
    return options_refuse(o, "--type %s: give a name and a semantic version, such as Update@1.2.3", o->type);
}

static int read_pairs(publish_t *p)
{
    const list_t *l = &p->o->meta;

    p->pairs = x_keep(x_realloc(NULL, (l->count + 1) * sizeof *p->pairs));
    for (size_t i = 0; i < l->count; i++) {
        const char *equals = strchr(l->at[i], '=');
        size_t len = equals ? (size_t)(equals - l->at[i]) : 0;
        if (len == 0 || !utf8_valid(ensign_str(l->at[i])))
            return options_refuse(p->o, "--meta %s: give KEY=VALUE, in UTF-8", l->at[i]);
        p->pairs[i].key = x_keep_text(l->at[i], len);
        p->pairs[i].value = equals + 1;
        for (size_t k = 0; k < i; k++)
            if (strcmp(p->pairs[k].key, p->pairs[i].key) == 0)
                return options_refuse(p->o, "--meta %s: an event has one value for each key, and %s has one "
                                      "already; leave one of them out", l->at[i], p->pairs[i].key);
    }
    p->e.pairs = p->pairs;
    p->e.pair_count = l->count;
    return EXIT_DONE;
}

/* Which options say where events come from, and what they say of them, go together? */
static int check_source(const options_t *o)
{
    bool args = o->args.count > 1, lines = o->lines || o->ndjson, described;

    if (args + (o->files.count > 0) + lines + (o->from_json != NULL) > 1)
        return options_refuse(o, "DATA, --file, --lines (or --ndjson) and --from-json are different sources; "
                                 "use one of them");
    if (o->null && (args || o->files.count > 0 || o->from_json))
        return options_refuse(o, "--null is for the lines of standard input or of --lines; leave it out");
    described = o->mimetype || o->type || o->key || o->meta.count > 0;
    if (o->from_json && described)
        return options_refuse(o, "each line of --from-json has its own MIME type, schema, key and metadata; "
                                 "leave out --mimetype, --type, --key and --meta");
    return EXIT_DONE;
}

static int read_source(publish_t *p)
{
    const options_t *o = p->o;
    const char *path = o->from_json ? o->from_json : o->lines ? o->lines : "-";
    int status = check_source(o);

    if (status != EXIT_DONE) return status;
    p->source = o->args.count > 1 ? FROM_ARGS : o->files.count > 0 ? FROM_FILES : FROM_LINES;
    p->at = p->source == FROM_ARGS ? 1 : 0;
    for (size_t i = 0; i < o->files.count; i++) /* all or none, where that can be told */
        if (!input_there(o->files.at[i])) return EXIT_USAGE;
    if (p->source != FROM_LINES) return EXIT_DONE;
    if (!input_open(&p->in, path)) return EXIT_USAGE;
    if (o->null) p->in.ending = '\0';
    if (o->from_json) p->in.max = FROM_JSON_MAX;
    return EXIT_DONE;
}

static int read_event(publish_t *p)
{
    const options_t *o = p->o;
    ensign_ulid_t id;
    int status = read_mime(o, &p->e.mimetype);

    if (status == EXIT_DONE) status = read_type(o, &p->e.type);
    if (status == EXIT_DONE) status = read_pairs(p);
    if (status == EXIT_DONE) status = read_source(p);
    if (o->key) p->e.key = ensign_str(o->key);
    if (topic_is_id(o->args.at[0], &id)) {
        p->e.to_topic_id = id;
        if (o->ensure_topic)
            return options_refuse(o, "--ensure-topic makes a topic by its name; %s is an id", o->args.at[0]);
    }
    return status;
}

/* ---- the source */

static line_t next_file(publish_t *p)
{
    const char *path = p->o->files.at[p->at];

    free(p->whole);
    if (!input_whole(path, EVENT_MAX, "an event may have; split it", &p->whole, &p->e.data.len))
        return LINE_TOO_LONG;
    p->e.data.ptr = p->whole;
    if (!p->o->mimetype) p->e.mimetype = mime_of_ending(path);
    p->e.tag = ++p->at;
    return LINE_GOT;
}

/* Is this line what the options say it is? It becomes the event. *none: it is right, and no event. */
static bool read_line(publish_t *p, ensign_slice_t line, bool *none)
{
    from_json_result_t read;

    *none = line.len == 0;
    if (*none) return true;
    if (!p->o->from_json) {
        p->e.data = line;
        if (!p->o->ndjson || text_is_json(line)) return true;
        complain("%s: line %" PRIu64 " is not a JSON value; this line and those behind it are not "
                 "published: correct it, or leave out --ndjson", p->in.name, p->in.line);
        return false;
    }
    read = from_json(&p->json, line, &p->e);
    *none = read == FROM_JSON_NONE;
    if (read != FROM_JSON_BAD) return true;
    complain("%s: line %" PRIu64 ": %s. This line and those behind it are not published", p->in.name,
             p->in.line, p->json.why);
    return false;
}

static line_t next_line(publish_t *p)
{
    ensign_slice_t line;
    line_t got;
    bool none = false;

    while ((got = input_line(&p->in, &line)) == LINE_GOT) {
        if (!read_line(p, line, &none)) return LINE_TOO_LONG;
        if (none) continue;
        p->e.tag = p->in.line;
        return LINE_GOT;
    }
    if (got == LINE_TOO_LONG)
        complain("%s: line %" PRIu64
                 " has over %zu bytes, the most that %s may have; this line and those behind it are not "
                 "published",
                 p->in.name, p->in.line + 1, p->in.max,
                 p->o->from_json ? "one of --from-json" : "an event");
    return got;
}

static line_t next_of_source(publish_t *p)
{
    const options_t *o = p->o;

    if (p->source == FROM_LINES) return next_line(p);
    if (p->source == FROM_FILES) return p->at < o->files.count ? next_file(p) : LINE_EOF;
    if (p->at == o->args.count) return LINE_EOF;
    p->e.data = ensign_str(o->args.at[p->at]);
    p->e.tag = p->at++;
    return LINE_GOT;
}

/* ---- publishing */

/* Milliseconds until --rate lets the next event go; 0: now. */
static int pace(const publish_t *p)
{
    double due_ms, gone_ms = (double)(ensign_now_ms() - p->start_ms);

    if (p->o->rate <= 0) return 0;
    due_ms = (double)p->put * 1000 / p->o->rate;
    if (due_ms <= gone_ms) return 0;
    return due_ms - gone_ms < 1 ? 1 : due_ms - gone_ms > 1000 ? 1000 : (int)(due_ms - gone_ms);
}

static void put(publish_t *p)
{
    int rc = ensign_publish(p->s.c, p->pub, &p->e);
    char line[300];

    if (rc == ENSIGN_OK) {
        p->put++;
        p->bytes += p->e.data.len;
    } else if (rc > 0) {
        p->room = false; /* AGAIN: until ROOM; ENDED: END is next */
    } else {
        snprintf(line, sizeof line, "%s: line %" PRIu64, p->in.name, p->in.line);
        if (ensign_error(p->s.c)->code == ENSIGN_E_TOO_LARGE) session_fail(&p->s, EXIT_USAGE);
        session_error(&p->s, p->source == FROM_LINES ? line : NULL, ensign_error(p->s.c));
        p->done = true;
    }
    p->pending = rc > 0;
}

/* One event, if there is one. False: not now. */
static bool take_one(publish_t *p)
{
    if (!p->pending) {
        line_t got = next_of_source(p);
        if (got == LINE_NONE && !p->in.regular) p->dry = true;
        if (got == LINE_NONE && p->in.regular && !input_read(&p->in)) got = LINE_TOO_LONG;
        if (got == LINE_EOF || got == LINE_TOO_LONG) p->done = true;
        if (got == LINE_TOO_LONG) session_fail(&p->s, EXIT_USAGE);
        if (got != LINE_GOT) return got == LINE_NONE && !p->dry;
        p->pending = true;
    }
    put(p);
    return true;
}

static void take(publish_t *p)
{
    for (int i = 0; i < TURN_EVENTS && p->room && !p->dry && !p->done && pace(p) == 0; i++)
        if (!take_one(p)) return;
}

static void close_down(publish_t *p, uint32_t ms)
{
    p->done = true;
    if (!p->ended) ensign_close(p->s.c, p->pub.id, ms);
    p->closing = true;
}

/* ---- answers */

static const char *number_name(const publish_t *p)
{
    return p->source == FROM_LINES ? "line" : "event";
}

static void print_ack(const publish_t *p, const ensign_notice_ack_t *a)
{
    char time[TIME_TEXT];

    if (p->o->json) {
        json_object(NULL);
        json_text("kind", "ack");
        json_uint(number_name(p), a->tag);
        json_time("committed", a->committed);
        json_close();
    } else {
        out_format("ack %" PRIu64 " %s\n", a->tag, text_time(a->committed, time));
    }
}

static void count_nack(publish_t *p, int code)
{
    p->nacked++;
    if (code == ENSIGN_NACK_NOT_SENT) p->not_sent++;
    if (code < ENSIGN_NACK_NOT_SENT && p->refused++ == 0) p->first_refusal = code;
}

/* --ensure-topic makes a topic by its name: an id is of one that was there. */
static const char *nack_remedy(const publish_t *p, int code)
{
    ensign_ulid_t id;

    if (code != ENSIGN_NACK_TOPIC_UNKNOWN || p->o->ensure_topic || topic_is_id(p->o->args.at[0], &id))
        return "";
    return "; --ensure-topic makes the topic";
}

static void print_nack(publish_t *p, const ensign_notice_nack_t *a, const char *text)
{
    count_nack(p, a->code);
    if (p->o->json) {
        json_object(NULL);
        json_text("kind", "nack");
        json_uint(number_name(p), a->tag);
        json_text("code", ensign_nack_name(a->code));
        json_text("stored", a->stored == ENSIGN_STORED_NO ? "no" : "maybe");
        json_text("error", text);
        json_close();
    } else if (a->code < ENSIGN_NACK_NOT_SENT && p->refused <= NACKS_SHOWN) { /* else END tells why */
        complain("%s %" PRIu64 " is %s: %s%s", number_name(p), a->tag,
                 a->stored == ENSIGN_STORED_NO ? "not stored" : "refused, and may be stored", text,
                 nack_remedy(p, a->code));
        if (p->refused == NACKS_SHOWN) complain("from here on they are only counted; --json prints each");
    }
}

static void answers(publish_t *p)
{
    const ensign_notice_t *n;

    while ((n = session_pull(&p->s)) != NULL) {
        if (n->handle != p->pub.id) continue;
        if (n->type == ENSIGN_NOTICE_ACK) print_ack(p, &n->as.ack);
        if (n->type == ENSIGN_NOTICE_NACK) print_nack(p, &n->as.nack, n->error ? n->error->text : "");
        if (n->type == ENSIGN_NOTICE_ROOM) p->room = true;
        if (n->type != ENSIGN_NOTICE_END) continue;
        ensign_stats(p->s.c, p->pub.id, &p->stats);
        if (n->error) session_error(&p->s, NULL, n->error);
        p->ended = p->done = true;
    }
    if (!p->ended) ensign_stats(p->s.c, p->pub.id, &p->stats);
}

/* Of the file: what is read, less what has no answer yet. */
static double percent(const publish_t *p)
{
    double answered = (double)(p->stats.acked + p->nacked) / (double)p->put;
    return 100 * answered * (double)p->in.taken / (double)p->in.size;
}

static void show_progress(publish_t *p, bool last)
{
    uint64_t now = ensign_now_ms(), every = err_is_terminal() ? PROGRESS_MS : PROGRESS_SLOW_MS;
    double seconds = (double)(now - p->start_ms) / 1000;
    char put_text[NUMBER_TEXT], acked[NUMBER_TEXT], rate[NUMBER_TEXT], part[16] = "";

    if (!p->progress || (now - p->shown_ms < every && !last)) return;
    p->shown_ms = now;
    if (p->in.size > 0 && p->put > 0) snprintf(part, sizeof part, "%3d %%  ", (int)percent(p));
    progress("%s%s read, %s stored, %s/s", part, text_number(p->put, put_text),
             text_number(p->stats.acked, acked),
             text_number(seconds > 0 ? (uint64_t)((double)p->stats.acked / seconds) : 0, rate));
}

/* ---- the whole */

static int wait_ms(const publish_t *p)
{
    int ms = p->room && !p->done && !p->dry ? pace(p) : -1;

    if (p->progress && (ms < 0 || ms > PROGRESS_MS)) ms = PROGRESS_MS;
    return ms;
}

/* What is not accepted yet will not be; what is on its way is waited for. */
static void stop(publish_t *p)
{
    uint64_t left = p->put - p->stats.acked - p->nacked;
    char count[NUMBER_TEXT], time[NUMBER_TEXT];

    p->pending = false;
    close_down(p, (uint32_t)p->o->close_timeout_ms);
    if (left > 0)
        say("stops: waits for the answers of %s events, at most %s; the same signal again ends it at once",
            text_number(left, count), text_duration((double)p->o->close_timeout_ms / 1000, time));
}

static void loop(publish_t *p)
{
    while (!p->ended) {
        woke_t woke;
        take(p);
        if (p->done && !p->pending && !p->closing) close_down(p, ENSIGN_FOREVER);
        woke = session_wait(&p->s, p->dry && !p->done ? p->in.fd : -1, wait_ms(p));
        answers(p);
        if (woke == WOKE_OVER) return;
        if (woke == WOKE_STOP) stop(p);
        if (woke == WOKE_INPUT) {
            p->dry = false;
            if (!input_read(&p->in)) session_fail(&p->s, EXIT_USAGE);
        }
        show_progress(p, false);
    }
}

/* A session that is over before its publisher leaves events without a word: which of them were never sent is
 * the publisher's to say. Why it is over is said already. */
static void end_publisher(publish_t *p)
{
    const ensign_notice_t *n;

    if (p->ended) return;
    ensign_cancel(p->s.c, p->pub.id);
    while ((n = ensign_next_of(p->s.c, p->pub.id)) != NULL)
        if (n->type == ENSIGN_NOTICE_NACK)
            print_nack(p, &n->as.nack, "publish: the command has ended; standard error says why");
}

static void json_summary(const publish_t *p, uint64_t unanswered, double seconds)
{
    json_object(NULL);
    json_text("kind", "summary");
    json_uint("published", p->put);
    json_uint("acked", p->stats.acked);
    json_uint("refused", p->refused);
    json_uint("unanswered", unanswered);
    json_uint("not_sent", p->not_sent);
    json_uint("bytes", p->bytes);
    json_number("seconds", seconds);
    json_close();
}

/* ", 3 not sent"; nothing where there are none. */
static const char *part(uint64_t n, const char *what, char out[PART_TEXT])
{
    char number[NUMBER_TEXT];

    out[0] = '\0';
    if (n > 0) snprintf(out, PART_TEXT, ", %s %s", text_number(n, number), what);
    return out;
}

static void summary(publish_t *p)
{
    double seconds = (double)(ensign_now_ms() - p->start_ms) / 1000;
    uint64_t acked = p->stats.acked, unanswered = p->put - acked - p->refused - p->not_sent;
    char put_text[NUMBER_TEXT], acked_text[NUMBER_TEXT], time[NUMBER_TEXT], rate[NUMBER_TEXT],
        size[NUMBER_TEXT], parts[3][PART_TEXT];

    if (acked < p->put)
        session_fail(&p->s, acked == 0 && p->refused > 0 ? exit_of_nack(p->first_refusal) : EXIT_FAILED);
    if (p->o->json) {
        json_summary(p, unanswered, seconds);
        return;
    }
    say("%s of %s events stored%s%s%s, in %s", text_number(acked, acked_text),
        text_number(p->put, put_text), part(p->refused, "refused", parts[0]),
        part(unanswered,
             unanswered == 1 ? "without an answer (it may be stored)"
                             : "without an answer (they may be stored)",
             parts[1]),
        part(p->not_sent, "not sent", parts[2]), text_duration(seconds, time));
    if (acked > 0 && seconds > 0)
        say("%s events/s, %s/s", text_number((uint64_t)((double)acked / seconds), rate),
            text_size((double)p->bytes / seconds, size));
}

static bool open_publisher(publish_t *p)
{
    const options_t *o = p->o;
    const char *topic = o->args.at[0];
    ensign_publisher_desc_t d;
    ensign_ulid_t id;

    if (!session_open(&p->s, o, true)) return false;
    if (o->ensure_topic && !session_answer(&p->s, ensign_topic_ensure(p->s.c, topic, NULL).id, NULL))
        return false;
    memset(&d, 0, sizeof d);
    if (!topic_is_id(topic, &id)) d.topic = topic;
    d.quiet_acks = !o->acks;
    p->pub = ensign_publisher_open(p->s.c, &d);
    if (p->pub.id != 0) return true;
    session_error(&p->s, NULL, ensign_error(p->s.c));
    return false;
}

int run_publish(const options_t *o)
{
    static publish_t p;
    int status;

    p.o = o;
    p.in.fd = -1;
    p.room = true;
    status = read_event(&p);
    if (status != EXIT_DONE) return status;
    p.progress = !o->no_progress && !o->quiet && (o->progress || (err_is_terminal() && !p.in.terminal));
    if (open_publisher(&p)) {
        p.start_ms = p.shown_ms = ensign_now_ms();
        if (p.in.terminal) say("reads events from the terminal, %s; ^D on a line of its own ends them",
                               o->null ? "up to each zero byte" : "one a line");
        loop(&p);
        end_publisher(&p);
        show_progress(&p, true);
        progress("");
        summary(&p);
    }
    input_close(&p.in);
    from_json_end(&p.json);
    free(p.whole);
    return session_end(&p.s);
}
