/* groups.c - ensign groups: consumer groups and their places, by ensignd's service Groups */
#include "messages.h"
#include "place.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SERVICE "/ensignd.v1.Groups/"
#define ANSWER_MS 30000         /* unless --request-timeout says otherwise: as of other questions */

/* ---- asking */

static bool fail(session_t *s, const ensign_error_t *e, const char *group)
{
    if (e->code == ENSIGN_E_UNIMPLEMENTED) {
        complain("this server has no service for groups (ensignd.v1.Groups); ensignd has it, but not with "
                 "--strict");
        session_fail(s, EXIT_ABSENT);
    } else if (e->code == ENSIGN_E_NOT_FOUND && group) {
        complain("there is no group \"%s\"; ensign groups ls lists them", group);
        session_fail(s, EXIT_ABSENT);
    } else {
        session_error(s, NULL, e);
    }
    return false;
}

static ensign_call_t ask(const session_t *s, const char *method, ensign_slice_t request, bool unary)
{
    ensign_call_desc_t d;

    memset(&d, 0, sizeof d);
    d.method = method;
    d.request = request;
    d.unary = unary;
    d.deadline_ms = s->o->request_timeout_ms > 0 ? (uint32_t)s->o->request_timeout_ms : ANSWER_MS;
    d.wait_for_ready = s->o->retry_ms > 0;
    return ensign_call_open(s->c, &d);
}

static bool read_group(session_t *s, ensign_slice_t bytes, msg_group_t *g)
{
    if (message_decode(MESSAGE_GROUP, g, bytes)) return true;
    complain("the server's answer is no group; it may be of another version");
    session_fail(s, EXIT_FAILED);
    return false;
}

/* Calls a unary method; the answer stands until the session ends. False: said. */
static bool ask_one(session_t *s, const options_t *o, const char *method, message_kind_t kind,
                    const void *message, ensign_slice_t *answer)
{
    const char *group = o->args.count == 1 ? o->args.at[0] : NULL;     /* else a topic may be missing */
    const ensign_notice_t *n;

    if (!session_open(s, o, false)) return false;
    n = session_next(s, ask(s, method, message_encode(kind, message), true).id);
    if (!n) return false;
    if (n->error) return fail(s, n->error, group);
    *answer = n->as.reply.message;
    return true;
}

/* A group that is given by its name, or by its id. */
static msg_group_request_t request_of(const char *group, ensign_ulid_t *id)
{
    msg_group_request_t r;

    memset(&r, 0, sizeof r);
    if (topic_is_id(group, id)) {
        r.id.ptr = id->b;
        r.id.len = sizeof id->b;
    } else {
        r.name = ensign_str(group);
    }
    return r;
}

static int check_names(const options_t *o)
{
    for (size_t i = 0; i < o->args.count; i++)
        if (!utf8_valid(ensign_str(o->args.at[i])))
            return options_refuse(o, "%s is no UTF-8 text, as names are; give another name",
                                  i == 0 ? "the name of the group" : "the name of a topic");
    return EXIT_DONE;
}

/* ---- printing */

/* By the number of the semantic. 0, UNSPECIFIED, is AT_LEAST_ONCE to ensignd. */
static const char *delivery_of(const msg_group_t *g)
{
    static const char *const names[] = { "at-least-once", "at-most-once", "at-least-once", "exactly-once" };

    return g->delivery >= 0 && (size_t)g->delivery < COUNT_OF(names) ? names[g->delivery] : "unknown";
}

static double ack_wait_of(const msg_group_t *g)
{
    return (double)g->ack_wait.seconds + (double)g->ack_wait.nanos / 1e9;
}

static const char *id_of(ensign_slice_t bytes, char out[27])
{
    ensign_ulid_t id;

    memset(&id, 0, sizeof id);
    if (bytes.len == sizeof id.b) memcpy(id.b, bytes.ptr, sizeof id.b);
    ensign_ulid_text(id, out);
    return out;
}

static bool next_topic(const msg_group_t *g, size_t *at, msg_group_topic_t *t)
{
    ensign_slice_t bytes;

    return message_next(g->topics, MSG_GROUP_TOPICS_TAG, at, &bytes) &&
           message_decode(MESSAGE_GROUP_TOPIC, t, bytes);
}

static void json_group(const msg_group_t *g)
{
    msg_group_topic_t t;
    size_t at = 0;
    char id[27];

    json_object(NULL);
    json_slice("name", g->name);
    json_text("id", id_of(g->id, id));
    json_text("delivery", delivery_of(g));
    json_number("ack_wait", ack_wait_of(g));
    json_uint("members", g->members);
    json_list("topics");
    while (next_topic(g, &at, &t)) {
        json_object(NULL);
        json_slice("name", t.name);
        json_text("id", id_of(t.topic_id, id));
        json_uint("offset", t.offset);
        json_uint("lag", t.lag);
        json_uint("pending", t.pending);
        json_uint("redeliveries", t.redeliveries);
        json_uint("dead_letters", t.dead_letters);
        json_close();
    }
    json_close();
    json_close();
}

static void text_head(const char *format, ...)
{
    char line[160];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    out_format("%s%s%s\n", out_color("1"), line, out_color("0"));
}

static void text_group(const msg_group_t *g)
{
    char id[27], number[NUMBER_TEXT];
    msg_group_topic_t t;
    size_t at = 0;

    out_text("name      ");
    out_safe(g->name, false);
    out_format("\nid        %s\n", id_of(g->id, id));
    out_format("delivery  %s\n", delivery_of(g));
    out_format("ack wait  %s\n", text_duration(ack_wait_of(g), number));
    out_format("members   %" PRIu32 "\n", g->members);
    text_head("%12s  %10s  %8s  %12s  %12s  %s", "OFFSET", "LAG", "PENDING", "REDELIVERIES", "DEAD LETTERS",
              "TOPIC");
    while (next_topic(g, &at, &t)) {
        out_format("%12" PRIu64 "  %10" PRIu64 "  %8" PRIu64 "  %12" PRIu64 "  %12" PRIu64 "  ", t.offset,
                   t.lag, t.pending, t.redeliveries, t.dead_letters);
        out_safe(t.name, false);
        out_text("\n");
    }
}

static void print_group(const options_t *o, const msg_group_t *g)
{
    if (o->json) json_group(g);
    else text_group(g);
}

/* One line of the list: sums over the topics. */
static void text_row(const msg_group_t *g)
{
    uint64_t topics = 0, lag = 0, pending = 0;
    msg_group_topic_t t;
    size_t at = 0;
    char id[27];

    for (; next_topic(g, &at, &t); topics++) {
        lag += t.lag;
        pending += t.pending;
    }
    out_format("%s  %-13s  %7" PRIu32 "  %6" PRIu64 "  %10" PRIu64 "  %8" PRIu64 "  ", id_of(g->id, id),
               delivery_of(g), g->members, topics, lag, pending);
    out_safe(g->name, false);
    out_text("\n");
}

/* ---- the commands */

/* A broken answer has said why; the rest of the list may be good. */
static void list_one(session_t *s, ensign_slice_t bytes, uint64_t *count)
{
    msg_group_t g;

    if (!read_group(s, bytes, &g)) return;
    if (s->o->json) {
        json_group(&g);
        return;
    }
    if ((*count)++ == 0)
        text_head("%-26s  %-13s  %7s  %6s  %10s  %8s  %s", "ID", "DELIVERY", "MEMBERS", "TOPICS", "LAG",
                  "PENDING", "NAME");
    text_row(&g);
}

int run_groups_ls(const options_t *o)
{
    const ensign_slice_t nothing = { NULL, 0 };
    const ensign_notice_t *n = NULL;
    uint64_t count = 0;
    ensign_call_t k;
    session_t s;

    if (!session_open(&s, o, false)) return session_end(&s);
    k = ask(&s, SERVICE "List", nothing, false);
    if (k.id != 0 && (ensign_call_send(s.c, k, nothing, 0) < 0 || ensign_call_half_close(s.c, k) < 0))
        session_error(&s, NULL, ensign_error(s.c));
    else
        while ((n = session_next(&s, k.id)) != NULL && n->type != ENSIGN_NOTICE_END)
            if (n->type == ENSIGN_NOTICE_MESSAGE) list_one(&s, n->as.message.bytes, &count);
    if (n && n->error) fail(&s, n->error, NULL);
    else if (n && count == 0 && !o->json)
        say("the project has no group yet; a subscription makes one: ensign subscribe TOPIC --group NAME");
    return session_end(&s);
}

int run_groups_show(const options_t *o)
{
    ensign_ulid_t id;
    msg_group_request_t request = request_of(o->args.at[0], &id);
    int status = check_names(o);
    ensign_slice_t answer;
    msg_group_t g;
    session_t s;

    if (status != EXIT_DONE) return status;
    if (ask_one(&s, o, SERVICE "Get", MESSAGE_GROUP_REQUEST, &request, &answer) && read_group(&s, answer, &g))
        print_group(o, &g);
    return session_end(&s);
}

int run_groups_rm(const options_t *o)
{
    const char *group = o->args.at[0];
    ensign_ulid_t id;
    msg_group_request_t request = request_of(group, &id);
    int status = check_names(o);
    ensign_slice_t answer;
    session_t s;

    if (status == EXIT_DONE) status = confirm_removal(o, "group", group, "all its places");
    if (status != EXIT_DONE) return status;
    if (ask_one(&s, o, SERVICE "Remove", MESSAGE_GROUP_REQUEST, &request, &answer)) {
        if (o->json) {
            json_object(NULL);
            json_text("removed", group);
            json_close();
        } else {
            say("group %s is removed", group);
        }
    }
    return session_end(&s);
}

/* The topics as one field of the request. */
static ensign_slice_t topics_of(const list_t *args)
{
    ensign_slice_t all = { NULL, 0 };
    uint8_t *room, *p;

    for (size_t i = 1; i < args->count; i++)
        all.len += message_bytes_size(MSG_RESET_GROUP_REQUEST_TOPICS_TAG, strlen(args->at[i]));
    all.ptr = room = p = x_keep(x_realloc(NULL, all.len + 1));
    for (size_t i = 1; i < args->count; i++)
        p = message_put_bytes(p, MSG_RESET_GROUP_REQUEST_TOPICS_TAG, ensign_str(args->at[i]));
    return all;
}

static int read_reset(const options_t *o, msg_reset_group_request_t *r)
{
    static const int32_t positions[] = { MSG_RESET_GROUP_REQUEST_POSITION_LIVE,
                                         MSG_RESET_GROUP_REQUEST_POSITION_BEGINNING,
                                         MSG_RESET_GROUP_REQUEST_POSITION_OFFSET,
                                         MSG_RESET_GROUP_REQUEST_POSITION_UNSPECIFIED,
                                         MSG_RESET_GROUP_REQUEST_POSITION_TIME };
    int status = check_names(o);
    place_t place;

    memset(r, 0, sizeof *r);
    if (status != EXIT_DONE) return status;
    if (!o->to)
        return options_refuse(o, "say where the group goes on: --to beginning, live, an offset, or a time");
    if (!place_read(o->to, &place) || place.kind == PLACE_LAST)
        return options_refuse(o, "--to %s: give beginning, live, an offset from 1 on, or a time such as "
                                 "2026-03-09T10:11:12Z", o->to);
    r->to = positions[place.kind];
    r->offset = place.number;
    r->has_time = place.kind == PLACE_TIME;
    r->time.seconds = place.time.seconds;
    r->time.nanos = place.time.nanos;
    r->topics = topics_of(&o->args);
    return EXIT_DONE;
}

int run_groups_reset(const options_t *o)
{
    msg_reset_group_request_t request;
    int status = read_reset(o, &request);
    ensign_ulid_t id;
    ensign_slice_t answer;
    msg_group_t g;
    session_t s;

    if (status != EXIT_DONE) return status;
    request.has_group = true;
    request.group = request_of(o->args.at[0], &id);
    if (ask_one(&s, o, SERVICE "Reset", MESSAGE_RESET_GROUP_REQUEST, &request, &answer) &&
        read_group(&s, answer, &g))
        print_group(o, &g);
    return session_end(&s);
}
