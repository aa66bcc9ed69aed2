/* topics.c - make, find, look at and remove the topics of a project
 * Shows   requests: ensign_await for one answer, or for many until the last; an id found by a name
 * Run     build/examples/topics list                 (info too; create, ensure, exists, find: TOPIC;
 *         build/examples/topics destroy weather       archive, destroy: TOPIC; policy: TOPIC STRATEGY [KEY])
 * Prints  what the service answers; exit 0, or 1 with its reason, or 3: `exists` and there is none
 * Next    pump_source.c */
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int fail(const char *what, const char *text)
{
    fprintf(stderr, "topics: %s: %s\n", what, text);
    return 1;
}

static const char *text_of(ensign_ulid_t id)
{
    static char text[27];

    ensign_ulid_text(id, text);
    return text;
}

static void print_topic(const ensign_topic_t *t)
{
    printf("%s %.*s %s%s, duplicates: %s\n", text_of(t->id), (int)t->name.len, (const char *)t->name.ptr,
           ensign_enum_name(ENSIGN_NAMES_TOPIC, t->state), t->readonly ? ", archived" : "",
           ensign_enum_name(ENSIGN_NAMES_DEDUP, t->dedup_strategy));
}

/* `of` has the members events, duplicates and data_bytes: a project, a topic's or a type's numbers. */
#define PRINT_NUMBERS(what, of)                                                                              \
    printf("%s: %" PRIu64 " events, %" PRIu64 " duplicates, %" PRIu64 " bytes\n", what, (of)->events,        \
           (of)->duplicates, (of)->data_bytes)

/* One notice of an answer, and the exit status that it stands for. */
static int print(const ensign_notice_t *n)
{
    char type[80];

    switch (n->type) {
    case ENSIGN_NOTICE_TOPIC: print_topic(n->as.topic); break;
    case ENSIGN_NOTICE_EXISTS: puts(n->as.exists.exists ? "yes" : "no"); return n->as.exists.exists ? 0 : 3;
    case ENSIGN_NOTICE_TOPIC_STATE:
        puts(ensign_enum_name(ENSIGN_NAMES_TOPIC, n->as.topic_state.state));
        break;
    case ENSIGN_NOTICE_PROJECT: PRINT_NUMBERS("project", n->as.project); break;
    case ENSIGN_NOTICE_TOPIC_INFO: /* zeros: the server has not counted yet */
        PRINT_NUMBERS(text_of(n->as.topic_info->id), n->as.topic_info);
        break;
    case ENSIGN_NOTICE_TYPE_INFO:
        ensign_type_text(&n->as.type_info->type, type, sizeof type);
        PRINT_NUMBERS(type, n->as.type_info);
        break;
    default: break; /* END of many answers */
    }
    return 0;
}

/* Waits for all of an answer, and prints it unless there is `id` to be filled. */
static int answer(ensign_t *c, const char *what, ensign_request_t r, ensign_ulid_t *id)
{
    const ensign_notice_t *n;
    int status = 0;

    if (r.id == 0) return fail(what, ensign_error(c)->text);
    do { /* -1: request_timeout_ms of the desc ends it */
        if (ensign_await(c, r.id, -1, &n) != ENSIGN_OK) return fail(what, ensign_error(c)->text);
        if (n->error) return fail(what, n->error->text);
        if (id) *id = n->as.topic->id;
        else status |= print(n);
    } while (!n->last);
    return status;
}

/* Asks by name, and where the service wants an id, finds it first. */
static int run(ensign_t *c, const char *what, const char *name, const ensign_dedup_t *policy)
{
    ensign_request_t r = { 0 };
    ensign_ulid_t id;

    if (strcmp(what, "list") == 0) r = ensign_topic_list(c, NULL);
    else if (strcmp(what, "info") == 0) r = ensign_info(c, NULL, 0, NULL);
    else if (strcmp(what, "create") == 0) r = ensign_topic_create(c, name, policy, NULL);
    else if (strcmp(what, "ensure") == 0) r = ensign_topic_ensure(c, name, NULL);
    else if (strcmp(what, "exists") == 0) r = ensign_topic_exists(c, name, NULL, NULL);
    else if (strcmp(what, "find") == 0) r = ensign_topic_by_name(c, name, NULL);
    else if (answer(c, name, ensign_topic_by_name(c, name, NULL), &id) != 0) return 1;
    else if (strcmp(what, "archive") == 0) r = ensign_topic_archive(c, id, NULL);
    else if (strcmp(what, "destroy") == 0) r = ensign_topic_destroy(c, id, NULL);
    else if (strcmp(what, "policy") == 0) r = ensign_topic_set_dedup(c, id, policy, NULL);
    else return fail(what, "no such command");
    return answer(c, what, r, NULL);
}

int main(int argc, char **argv)
{
    static ensign_desc_t d; /* zeroed: every field has its default */
    static ensign_dedup_t policy;
    ensign_error_t why;
    ensign_t *c;
    int status;

    if (argc < 2) return fprintf(stderr, "usage: topics COMMAND [TOPIC [STRATEGY [KEY]]]\n"), 2;
    if (argc > 3 && ensign_enum_parse(ENSIGN_NAMES_DEDUP, ensign_str(argv[3]), &policy.strategy) < 0) {
        return fail(argv[3], "no such strategy, as ENSIGN_DEDUP_x has them: none, strict, datagram, ...");
    }
    policy.keys = (const char *const *)argv + 4;
    policy.key_count = argc > 4 ? (size_t)(argc - 4) : 0;
    if (ensign_desc_env(&d, &why) != ENSIGN_OK) return fail("environment", why.text);
    if (ensign_create(&d, &c, &why) != ENSIGN_OK) return fail("create", why.text);
    status = run(c, argv[1], argc > 2 ? argv[2] : NULL, argc > 3 ? &policy : NULL);
    ensign_destroy(c);
    return status;
}
