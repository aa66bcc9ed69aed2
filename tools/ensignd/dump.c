/* dump.c - --dump and --dump-all: what is stored, one JSON line each; see dump.h */
#include "dump.h"
#include "log_now.h"
#include "progress.h"
#include "stored_json.h"
#include <string.h>
#include <unistd.h>

typedef struct dump_t {
    log_t      *log;
    topics_t    topics;
    const char *wanted;
    bool        strict;
    FILE       *out;
    uint64_t    epoch, events;
    progress_t  progress;
} dump_t;

static bool is_wanted(const dump_t *d, const topic_t *t)
{
    char text[ULID_TEXT + 1];

    ulid_text(&t->id, text);
    return !d->wanted || strcmp(t->name, d->wanted) == 0 || strcmp(text, d->wanted) == 0;
}

static void note_what_goes(dump_t *d)
{
    buf_t key = { NULL, 0, 0, 0 };

    for (size_t i = 0; i < d->topics.count; i++) {
        key.start = key.end = 0;
        topic_destroy_key(&d->topics.all[i]->id, &key);
        d->topics.all[i]->deleting = log_get(d->log, buf_bytes(&key), NULL, NULL);
    }
    buf_free(&key);
}

static bool print(dump_t *d, json_t *line)
{
    json_dumpf(line, d->out, JSON_COMPACT);
    json_decref(line);
    putc('\n', d->out);
    return !ferror(d->out);
}

static void print_keys(dump_t *d)
{
    keyring_t keys;

    keyring_in_log(&keys, d->log);
    for (size_t i = 0; i < keys.count; i++) print(d, key_to_json(&keys.keys[i]));
    keyring_free(&keys);
}

static void print_topic(dump_t *d, const topic_t *t)
{
    buf_t key = { NULL, 0, 0, 0 };
    ensign_slice_t value;
    ulid_t dead_of;
    bool dead;

    topic_dead_key(&t->id, &key);
    dead = log_get(d->log, buf_bytes(&key), &value, NULL) && ulid_from(value, &dead_of);
    print(d, topic_to_json(t, dead ? &dead_of : NULL));
    buf_free(&key);
}

/* Those that have another's dead letters come behind all others, for they name the other one. Returns how
   many. */
static size_t print_topics(dump_t *d)
{
    size_t count = 0;

    for (int dead = 0; dead < 2; dead++) {
        for (size_t i = 0; i < d->topics.count; i++) {
            const topic_t *t = d->topics.all[i];
            if (t->dead_letters != (dead == 1) || !is_wanted(d, t) || t->deleting) continue;
            print_topic(d, t);
            count++;
        }
    }
    return count;
}

static bool print_event(void *user, const log_event_t *e)
{
    dump_t *d = user;
    const topic_t *t = topics_by_id(&d->topics, &e->topic);

    if (!t || t->deleting) return true;
    progress_step(&d->progress, ++d->events);
    return print(d, event_to_json(e, t, d->epoch, d->strict));
}

/* Of a whole project in the order of the offsets, or of each topic that is wanted. The topics of a project
   stand side by side. */
static bool print_events(dump_t *d, why_t *why)
{
    const ulid_t *project = NULL;
    bool ok = true;

    for (size_t i = 0; ok && i < d->topics.count && !ferror(d->out); i++) {
        const topic_t *t = d->topics.all[i];
        if (!is_wanted(d, t) || (!d->wanted && project && ulid_eq(project, &t->project))) continue;
        project = &t->project;
        d->epoch = log_epoch(d->log, project);
        ok = log_read_now(d->log, project, d->wanted ? &t->id : NULL, print_event, d, why);
    }
    return ok;
}

bool dump_lines(log_t *l, const char *wanted, bool strict, FILE *out, why_t *why)
{
    dump_t d;
    bool ok;

    memset(&d, 0, sizeof d);
    d.log = l;
    d.wanted = wanted;
    d.strict = strict;
    d.out = out;
    topics_open(&d.topics, l);
    note_what_goes(&d);
    progress_begin(&d.progress, "events", isatty(fileno(out)) == 1);
    if (!wanted) print_keys(&d);
    ok = print_topics(&d) || !wanted ||
         fail(why, "--dump %s: the store holds no topic of that name or id; create it, or mend the name",
              wanted);
    ok = ok && print_events(&d, why);
    progress_end(&d.progress);
    topics_close(&d.topics);
    if (!ok || (fflush(out) == 0 && !ferror(out))) return ok;
    return fail(why, "%s: standard output cannot be written; see that the disk has room",
                wanted ? "--dump" : "--dump-all");
}
