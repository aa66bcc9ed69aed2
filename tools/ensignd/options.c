/* options.c - see options.h */
#include "dedup_window.h"
#include "options.h"
#include "h2server.h"
#include "../common/args.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIFE_MAX 315360000      /* seconds: ten years */
#define QUEUE_MAX 16777216
#define GROUPS_MAX 100000
#define WAIT_MAX 86400          /* seconds */
#define DELIVER_MAX 1000000
#define WINDOW_MAX 86400        /* seconds: a day */
#define COUNT_MAX 1000000000000
#define DELAY_MAX 3600000       /* ms */
#define TIMEOUT_MAX 86400       /* seconds */
#define REPLICAS_MAX 5          /* that NATS takes */
#define PREFIX_MAX 64           /* bytes */
#define NOT_GIVEN INT64_MIN

#define AT(field) offsetof(options_t, field)
#define ROW(name, kind, field, least, most) \
    { 1, 0, name, kind, NULL, AT(field), (uint64_t)(least), (uint64_t)(most), NULL }
#define FLAG(name, field) ROW(name, KIND_FLAG, field, 0, 0)
#define TEXT(name, field) ROW(name, KIND_TEXT, field, 0, 0)
#define NUMBER(name, field, least, most) ROW(name, KIND_NUMBER, field, least, most)

/* The numbers are int64_t. COUNT: without one, -1. */
static const option_t known[] = {
    TEXT("--listen", listen),
    ROW("--port", KIND_PORT, port, 0, 65535),
    TEXT("--unix", unix_path),
    ROW("--auth-port", KIND_PORT, auth_port, 0, 65535),
    TEXT("--data", data),
    TEXT("--store", store),
    NUMBER("--store-timeout", store_timeout, 1, TIMEOUT_MAX),
    NUMBER("--replicas", replicas, 1, REPLICAS_MAX),
    TEXT("--project-prefix", prefix),
    FLAG("--memory", memory),
    TEXT("--keys", keys_file),
    FLAG("--tls", tls),
    TEXT("--cert-file", cert_file),
    TEXT("--client-ca", client_ca),
    TEXT("--env-file", env_file),
    FLAG("--detach", detach),
    TEXT("--pid-file", pid_file),
    TEXT("--log-file", log_file),
    TEXT("--dump", dump),
    FLAG("--dump-all", dump_all),
    TEXT("--load", load),
    NUMBER("--access-life", lives.access, 1, LIFE_MAX),
    NUMBER("--refresh-life", lives.refresh, 1, LIFE_MAX),
    NUMBER("--refresh-overlap", lives.overlap, -LIFE_MAX, LIFE_MAX),
    NUMBER("--token-life", token_life, 1, LIFE_MAX / 2),
    FLAG("--strict", strict),
    FLAG("--maintenance", maintenance),
    FLAG("--auth-maintenance", auth_maintenance),
    NUMBER("--nack-every", faults.nack_every, 1, COUNT_MAX),
    ROW("--nack-code", KIND_NACK, faults.nack_code, 0, 0),
    NUMBER("--ack-delay", faults.ack_delay_ms, 0, DELAY_MAX),
    NUMBER("--cut-after-bytes", faults.cut_bytes, 1, COUNT_MAX),
    NUMBER("--cut-after-events", faults.cut_events, 1, COUNT_MAX),
    NUMBER("--cut-first", faults.cut_first, 1, COUNT_MAX),
    ROW("--refuse-auth", KIND_COUNT, faults.refuse_auth, 1, COUNT_MAX),
    NUMBER("--refuse-code", faults.refuse_code, 400, 599),
    NUMBER("--dedup-window", dedup_window, 0, WINDOW_MAX),
    NUMBER("--subscriber-queue", subscriber_queue, 1, QUEUE_MAX),
    NUMBER("--max-groups", max_groups, 1, GROUPS_MAX),
    NUMBER("--max-unacked", max_unacked, 1, QUEUE_MESSAGES),
    NUMBER("--ack-wait", ack_wait, 1, WAIT_MAX),
    NUMBER("--max-deliver", max_deliver, 1, DELIVER_MAX),
    FLAG("--verbose", verbose),
    FLAG("--help", help),
};

static const char help_head[] =
    "ensignd - a development server for Ensign clients, with its auth service\n"
    "\n"
    "    ensignd --data FOLDER [option...]      keeps all events, topics and keys in FOLDER\n"
    "    ensignd --store nats://HOST [option...] keeps them in NATS JetStream, see below\n"
    "    ensignd [--memory] [option...]         keeps all in memory until it ends: for tests\n"
    "    ensignd --data FOLDER --dump TOPIC     prints a topic and its stored events, a JSON line each, and ends;\n"
    "                                           --dump-all: all topics of all projects, and the API keys\n"
    "    ensignd --data FOLDER --load FILE      stores what these have printed, see below, and ends; FILE can be\n"
    "                                           -, standard input\n"
    "\n";

static const char help_text[] =
    "    --store FOLDER         another name of --data\n"
    "    --port N               of the gRPC service [5356]; 0: the system chooses\n"
    "    --unix PATH            the gRPC service listens on this Unix socket, and on no port; clients name\n"
    "                           it as the endpoint unix:PATH. The file is for its owner alone; one that a\n"
    "                           killed server has left is replaced, and the server removes it when it ends\n"
    "    --auth-port N          of the auth service, HTTP/1.1 [8088]; 0: the system chooses\n"
    "    --listen ADDRESS       IP address to listen on [127.0.0.1]\n"
    "    --keys FILE            projects and API keys, see below [a key made at first start, printed]\n"
    "    --tls                  TLS on both ports, with a certificate for localhost of its own\n"
    "    --cert-file FILE       where that certificate is written, for clients to trust; needed with --tls\n"
    "    --client-ca FILE       with --tls: the gRPC service asks each client for a certificate that one\n"
    "                           of the certificates in FILE, PEM, has signed\n"
    "    --env-file FILE        once ready, gets shell assignments for a client: read it by  . FILE; until\n"
    "                           then FILE stays as it was\n"
    "    --detach               returns once ready and leaves the server running, without the terminal; its\n"
    "                           pid is printed, see below\n"
    "    --pid-file FILE        once ready, gets the server's pid; the server removes it when it ends\n"
    "    --log-file FILE        once ready, gets at its end what standard output and error get otherwise\n"
    "    --access-life S        life of an access token in seconds [3600]\n"
    "    --refresh-life S       life of a refresh token in seconds, from the login on [7200]\n"
    "    --refresh-overlap S    a refresh token is valid from S seconds behind its access token's end on;\n"
    "                           negative: before that end [-900]\n"
    "    --token-life S         those three in the proportion of their defaults: S, 2 S, -S/4\n"
    "    --dedup-window S       an event that repeats one of the last S seconds is stored as its duplicate,\n"
    "                           where the topic's policy says so, see below [120]; 0: never\n"
    "    --subscriber-queue N   events that wait for a slow subscriber, at most; behind them it reads what was\n"
    "                           stored, and loses nothing [16384]\n"
    "    --store-timeout S      so long, in seconds, an event waits to be stored: while the disk is full, say.\n"
    "                           Then it is refused with CONSENSUS_FAILURE, and may still have been stored [30]\n"
    "    --max-groups N         consumer groups of a project [1000]\n"
    "    --max-unacked N        events that a member of a group has without an ack [256]\n"
    "    --ack-wait S           an event without an ack for so many seconds is delivered again [30]\n"
    "    --max-deliver N        failed deliveries after which an event is a dead letter, see below [5]\n"
    "    --verbose              tells on standard error what happens: connections, calls with their status,\n"
    "                           logins, and each nack with its code, topic and reason\n"
    "    --help                 this\n"
    "\n"
    "    --strict               behaves as the real server where that is less friendly, see below\n"
    "    --maintenance          the service is in maintenance: Status says so, the health service and\n"
    "                           reflection answer, all else is refused with UNAVAILABLE\n"
    "    --auth-maintenance     the auth service is: 503 to all\n"
    "\n";

static const char help_faults[] =
    "For tests of clients. Each of these counts, and nothing is left to chance, so a run can be repeated:\n"
    "\n"
    "    --nack-every N         refuses each Nth of the good events of a publish stream: neither stored nor\n"
    "                           delivered; its nack comes where its ack would have come\n"
    "    --nack-code CODE       of these nacks, a name of Nack.Code or its number [INTERNAL]\n"
    "    --ack-delay MS         holds each ack and nack back so long; events are delivered at once\n"
    "    --cut-after-bytes N    cuts each connection to the service, without GOAWAY or TLS's goodbye,\n"
    "                           when N bytes have been sent on its socket, TLS and handshake counted in\n"
    "    --cut-after-events N   cuts it behind the Nth event: acks and deliveries on it count together.\n"
    "                           The first N are sent whole; what was stored behind them gets no ack\n"
    "    --cut-first N          only the first N connections are cut [all]\n"
    "    --refuse-auth[=N]      logins and refreshes are refused: all, or the first N of both together\n"
    "    --refuse-code STATUS   the HTTP status of that, 400 to 599 [403, which a client takes as final]\n"
    "    An expired token (--token-life) ends no stream that runs: it is looked at when a call begins.\n"
    "\n";

static const char help_strict[] =
    "                         default                           --strict, as the real server\n"
    "    half-close           all acks, then close_stream       close_stream at once: acks still to come\n"
    "                                                           are lost, their events are stored\n"
    "    unread acks          the publisher is not read         lost beyond 16384\n"
    "    message over 4 MiB   nack MAX_EVENT_SIZE_EXCEEDED;     the stream ends: RESOURCE_EXHAUSTED\n"
    "                         over 8 MiB as with --strict\n"
    "    topic made while a   accepted by its id, unless the    TOPIC_UNKNOWN\n"
    "    publish stream runs  stream named its topics\n"
    "    subscriber           registered, then sent ready       sent ready, then registered: what is\n"
    "                                                           committed in between does not come\n"
    "    slow subscriber      gets all                          loses what its queue has no room for\n"
    "    subscription         begins at topic_offsets, or at    begins live; its query is ignored\n"
    "                         its query's OFFSET, else live;\n"
    "                         WHERE chooses its events\n"
    "    consumer groups      each event to one member; acks     each event to all; acks and nacks have no\n"
    "                         and nacks count, see below        effect\n"
    "    offset, epoch        of events are set; ensign-place   0; there is no such header\n"
    "                         tells where a stream begins\n"
    "    rows, --dump         with the time of their commit     without; and rows without offset and epoch\n"
    "    archived topic       TOPIC_ARCHIVED; while it is       accepted\n"
    "                         destroyed TOPIC_DELETED\n"
    "    UNIQUE_FIELD policy  INVALID_ARGUMENT                  OK, and the topic stays PENDING\n"
    "    new events           compared with those of the last    stored as they come\n"
    "                         seconds (--dedup-window)\n"
    "    OFFSET_LATEST        the last copy is the original     the first one is\n"
    "    newest event         deduplicated as all are           left alone\n"
    "    policy NONE again    events are whole again            and are still marked as duplicates\n"
    "    overwrite_duplicate  is a change of policy             is not\n"
    "    and no other change\n"
    "    where the real one   INVALID_ARGUMENT                  OK, with an empty answer\n"
    "    panics\n"
    "    LIMIT 0              no row                            one row\n"
    "    WHERE, fields        applied, see below                read, and not applied\n"
    "    topics orders, a.b   can be queried; a.b in quotes     no query can name them\n"
    "    topic destroyed      the query ends with ABORTED       OK, with the rows that are left\n"
    "    while it is queried\n"
    "    Explain              whether and how it would run      UNIMPLEMENTED\n"
    "    server reflection    v1 and v1alpha, without a token   UNIMPLEMENTED\n"
    "    PING                 as often as you like              the fourth too soon: GOAWAY\n"
    "    auth service         as often as you like              429 beyond 30 requests, 10 more each\n"
    "                                                           second; one count for all addresses\n"
    "\n";

static const char help_files[] =
    "When it is ready it prints one line on standard output, with both addresses. SIGTERM ends it: calls in\n"
    "hand are finished, for two seconds at most. Exit status: 0; 2 with a reason if an option or a file is\n"
    "wrong.\n"
    "\n"
    "With --detach the command returns when the server is ready, and the files of --cert-file, --env-file\n"
    "and --pid-file are whole. It prints the server's pid on standard output, and nothing else. If the\n"
    "server does not get ready, standard error says why, and the exit status is 2. Once it is ready, only\n"
    "--log-file gets what it tells:\n"
    "\n"
    "    ensignd --data FOLDER --env-file env --pid-file pid --detach\n"
    "    . ./env                                # and clients find it\n"
    "    kill $(cat pid)\n"
    "\n"
    "The file of --keys is JSON:\n"
    "\n"
    "    { \"projects\": [ { \"name\": \"demo\", \"keys\": [\n"
    "        { \"client_id\": \"all\", \"client_secret\": \"other\" },\n"
    "        { \"client_id\": \"reader\", \"client_secret\": \"s3cret\",\n"
    "          \"permissions\": [ \"subscriber\", \"topics:read\" ] } ] } ] }\n"
    "\n"
    "Without --keys three are made at the first start, with the names that --env-file gives them:\n"
    "ENSIGN_CLIENT_ID may do everything; ENSIGN_READER_CLIENT_ID only subscriber and topics:read;\n"
    "ENSIGN_OTHER_CLIENT_ID everything, in another project. With --keys these are its first key, the first\n"
    "one of the same project that is a subscriber and no publisher, and the first one of another project,\n"
    "where there are such.\n"
    "\n"
    "Without \"permissions\" a key may do everything; the names are topics:create, topics:edit,\n"
    "topics:destroy, topics:read, metrics:read, publisher, subscriber. A project may have \"id\" and\n"
    "\"org\", a key \"id\": ULIDs, which are else derived from the names. Topics belong to a project.\n"
    "\n"
    "Duplicates are looked for twice. When a policy is set, all events that there are then are compared; of a\n"
    "topic's different events 4194304 are remembered for that. When an event is published, it is compared\n"
    "with those of the last seconds (--dedup-window), before a restart of the server too. One that repeats\n"
    "another is acked, and delivered to subscribers with is_duplicate set. It is stored as its duplicate, so a\n"
    "query leaves it out unless it asks for duplicates. At publish time the first copy is the original, with\n"
    "OFFSET_LATEST too. 65536 events of a topic are remembered, and 262144 of all; an event with more than\n"
    "64 KiB beside its data is not. While a policy that was set is not yet applied (PENDING), and with\n"
    "--strict, new events are stored as they come.\n"
    "\n"
    "Info counts when it is asked, and tells 1024 types of a topic apart.\n"
    "\n"
    "Secrets lie in the data folder in the clear. It is a tool for development.\n";

static const char help_dump[] =
    "To carry everything from one store to another, also to one of another kind:\n"
    "\n"
    "    ensignd --store OLD --dump-all | ensignd --store NEW --load -\n"
    "\n"
    "The lines have the API keys that ensignd has made, with their secrets; each topic with its id, policy and\n"
    "state; and each event with all that it has, in the order of its project. The fields of an event have the\n"
    "names of `ensign subscribe --json`. An event whose content they do not give again, such as an encrypted one,\n"
    "has its bytes, too.\n"
    "\n"
    "    new            id (RLID), offset and epoch, which the log gives out. All else stays, and so does the\n"
    "                   order of the events. The time in the id is that of the loading, and --dedup-window goes\n"
    "                   by it; committed stays the time when the event was first committed\n"
    "    duplicates     point at their original by its id, and --load looks up which id that has now. Where the\n"
    "                   original comes later (OFFSET_LATEST), its duplicates are changed once it is there. A\n"
    "                   store that cannot change events refuses such a line\n"
    "    not in it      groups and their places, which stand at offsets of the old log; the signing key and the\n"
    "                   certificate, so clients log in anew; the keys of --keys; topics that are being destroyed\n"
    "    there already  keys and topics of the same name stay as they are, and events go behind those of the\n"
    "                   topic. A topic whose id another one has there gets a new id\n"
    "\n"
    "A store that a server has open can be dumped, up to the event that is the last one then. A store that is\n"
    "loaded must not be open elsewhere. --load stops at the first line that is wrong, and names it and its field.\n"
    "What was loaded until then stays, and it says how many events that is. To load the same lines again stores\n"
    "their events again: begin with a new store.\n"
    "\n";

static const char help_nats[] =
    "    --store nats://HOST[:PORT],...   servers of one NATS cluster, 2.10 or later, with JetStream\n"
    "    --replicas N           of all that is kept in NATS [3 where three servers are known at the first\n"
    "                           start, else 1]\n"
    "    --project-prefix NAME  begins the names of all streams in NATS, so that several installations share a\n"
    "                           cluster [ensign]\n"
    "\n"
    "With --store nats://HOST[:PORT],HOST2... any number of ensignd serve the same topics, events and keys, which\n"
    "lie in NATS JetStream: a stream for each project, PREFIX_PROJECT, and the bucket PREFIX for all else. An\n"
    "event is acked when NATS has stored it. Any ensignd takes events, and all deliver them, in one order. A\n"
    "topic or key that was made at one is there at the others within a second. The login is a part of the\n"
    "address: nats://USER:PASSWORD@HOST. nats-server needs JetStream (-js), and max_payload: 8MB in its\n"
    "configuration. While a server of NATS is away, ensignd goes on with the others; while none takes events,\n"
    "they wait for --store-timeout.\n"
    "\n"
    "There, consumer groups are refused with UNIMPLEMENTED, and so is SetTopicPolicy but for NONE and STRICT.\n"
    "The offset of an event is its sequence in the stream. An event that a publisher sends again within\n"
    "--dedup-window, with the same local_id of 16 bytes or more, is stored once.\n"
    "\n";

static const char help_groups[] =
    "Consumer groups. Subscriptions that name the same group, or give the same id, are its members. Each event\n"
    "of a topic goes to one of the members that subscribe to the topic, and the group keeps its place in it:\n"
    "what nobody has acked by then comes when a member is there again, behind a restart of the server too.\n"
    "\n"
    "    begin          a new group begins with what is published from then on, or behind its topic_offsets: a\n"
    "                   map of topic names to offsets, 0 for the beginning; or at the OFFSET of its query. A topic\n"
    "                   that it takes up later begins where the group began, too\n"
    "    ack            the event is done. It counts from any member, and on a later stream than the event's\n"
    "    nack           the event comes again 100 ms later, and each further time twice as late, up to 5 s. With\n"
    "                   the codes UNHANDLED_MIMETYPE, UNKNOWN_TYPE and DELIVER_AGAIN_NOT_ME it goes to another\n"
    "                   member, where there is one\n"
    "    no answer      for --ack-wait is a nack. The time runs from when the member's connection took the event\n"
    "    no progress    a member whose connection takes no event for --ack-wait, though some wait for it, gives\n"
    "                   back those that wait. That does not count towards --max-deliver. It gets nothing more\n"
    "                   until its connection has taken all that it was sent; an ack of that counts\n"
    "    leaving        gives back what the member had. That does not count towards --max-deliver; nor does what\n"
    "                   was out when the server ended\n"
    "    dead letter    is what an event becomes whose delivery has failed --max-deliver times\n"
    "    delivery       AT_LEAST_ONCE; UNSPECIFIED is the same, although the comment in upstream's .proto file\n"
    "                   says otherwise. AT_MOST_ONCE: done when it is handed over, and it never comes again.\n"
    "                   EXACTLY_ONCE is refused\n"
    "    delivery_timeout   of the group takes the place of --ack-wait\n"
    "    query          as of a subscription, see below. An event that WHERE does not take is done, and goes to\n"
    "                   nobody. OFFSET counts when the group gets its place in the topic, unless topic_offsets\n"
    "                   name one; from then on the place counts. All members have the same text and parameters,\n"
    "                   65536 bytes at most\n"
    "\n"
    "The first member settles delivery, delivery_timeout and query; one that asks for others is refused with\n"
    "FAILED_PRECONDITION. An id of 16 bytes is taken as it is, another one is hashed, and so is the name where\n"
    "there is no id. A member that has --max-unacked events without an ack gets no more. A topic's place keeps\n"
    "16384 events above the oldest one that is not done, and then waits for that one.\n"
    "\n"
    "The dead letters of topic NAME are in topic NAME-dead, which is made for the first one whatever a key may\n"
    "do. (Of a NAME with more than 507 bytes the first 484 and a hash stand in front of -dead.) It has to be\n"
    "named to be subscribed to or published to: it is not among all topics of a project. An event of it is never\n"
    "a dead letter again. A dead letter is the event as it was, with the reason in its metadata:\n"
    "ensignd-dead-reason, the name of the last nack's code, TIMEOUT where no ack came; ensignd-dead-deliveries;\n"
    "ensignd-dead-group, -group-id, -topic, -topic-id, -offset and -id, which say where it was. An event that is\n"
    "encrypted, signed or compressed, or whose content cannot be read, is wrapped: its EventWrapper is the data\n"
    "of an event of the MIME type application/protobuf and the type EventWrapper.\n"
    "\n"
    "`ensign groups` lists the groups and where they are, sets them back, and removes them, by the service\n"
    "ensignd.v1.Groups: with topics:read and topics:edit.\n"
    "\n";

static const char help_queries[] =
    "A query takes events of one topic, in the order of their commits:\n"
    "\n"
    "    SELECT * FROM orders WHERE total >= 9.5 AND NOT buyer.name LIKE 'A%' LIMIT 10 OFFSET 20\n"
    "    SELECT id, items.0.price AS price, @created FROM 'shop.orders' WHERE id IN (1, 2, :id)\n"
    "\n"
    "    topic        its name; in quotes of any kind it may have dots or be a keyword. Behind it the service\n"
    "                 allows .schema.version, which has no effect\n"
    "    field        of the data, which are one JSON object whatever the MIME type says: total, buyer.name,\n"
    "                 items.0 for the first of an array; in double quotes any name: \"first name\"\n"
    "    @field       of the event itself: @id @offset @epoch @key @is_duplicate @created @committed @data\n"
    "                 @mimetype @metadata.KEY @type.name @type.version @type.major @type.minor @type.patch\n"
    "                 @publisher.id @publisher.address @publisher.client_id @publisher.user_agent\n"
    "    comparison   field = value; != <> < <= > >= too; field [NOT] IN (value, ...); field IS [NOT] NULL;\n"
    "                 field [NOT] LIKE 'text', where % is any text, _ any character, \\% and \\_ themselves;\n"
    "                 ILIKE does not tell A to Z from a to z\n"
    "    value        'text', in which \\' is a quote; a number; true, false; :name, a parameter of the query.\n"
    "                 @created and @committed are compared with a text such as '2026-01-31T12:00:00Z'\n"
    "    condition    comparisons with NOT, AND, OR and parentheses; AND binds before OR\n"
    "\n"
    "A comparison is false when the field is not there, or is of another type than the value; NOT in front\n"
    "of it makes it true. A list of fields gives each event as a JSON object. Its keys are the names as they\n"
    "stand in the query, or those behind AS; a field that is not there is null. Events that are not JSON are\n"
    "left out. With WHERE or a list of fields, OFFSET and LIMIT count rows. Without both, OFFSET counts\n"
    "stored events, as in the service. A query has 1 MiB, 1000 fields, 1000 values and 64 open parentheses\n"
    "at most.\n"
    "\n"
    "What one event may cost a query has limits: the event's JSON has 131072 values at most, when the query\n"
    "names a field of it; a row of listed fields has 4 MiB at most; and all comparisons and fields together\n"
    "look at 32 MiB at most. LIKE looks at a text up to the place where its answer is known; ILIKE looks at\n"
    "all of it before. A part of a pattern between two % counts four times if it has more than 64 bytes. To\n"
    "read a value of JSON counts as 64 bytes, and to write a number with a fraction as 400.\n"
    "A query ends with RESOURCE_EXHAUSTED at the first event that costs more. The text of the status names\n"
    "the limit and the event: WHERE @id != 'ID' AND ... leaves it out.\n"
    "\n"
    "A subscription may have a query, too: SELECT * FROM one of its topics. It gets the events of that topic\n"
    "that WHERE takes. With OFFSET it begins behind so many stored events, and goes on live; without OFFSET it\n"
    "begins live. LIMIT and a list of fields are refused. An event that costs more than these limits is left\n"
    "out.\n"
    "\n"
    "Within these limits, every query that the service takes means the same here. One exception: the service\n"
    "takes 2026-01-31 for a number in WHERE, and here that is an error. An error names the place and the\n"
    "word. With --strict, queries are read and refused as by the service. It applies the topic, OFFSET and\n"
    "LIMIT, and neither fields nor WHERE nor parameters. Explain says whether a query would run; when it\n"
    "would, the text of its status tells how, and how many events the query looks at.\n"
    "\n";

void options_help(void)
{
    static const char *const parts[] = { help_head, help_text, help_faults, help_strict, help_nats,
                                         help_groups, help_queries, help_dump, help_files };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) fputs(parts[i], stdout);
}

static bool read_number(const option_t *k, const char *text, int64_t *out, why_t *why)
{
    long long least = (long long)k->least, most = (long long)k->most, v;
    char *end;

    errno = 0;
    v = strtoll(text, &end, 10);
    if (*text == '\0' || *end != '\0' || errno != 0 || v < least || v > most)
        return fail(why, "%s %s: not a whole number from %lld to %lld; give one", k->name, text, least, most);
    *out = v;
    return true;
}

/* `value` is NULL for an option that takes no value. */
static bool store_value(options_t *o, const option_t *k, const char *value, why_t *why)
{
    void *at = (char *)o + k->at;
    int64_t number = -1;

    if (k->kind == KIND_TEXT && *value == '\0') return fail(why, "%s is empty; give it a value", k->name);
    if (option_keep(o, k, value)) return true;
    if (k->kind == KIND_NACK)
        return nack_code_parse(value, at) ||
               fail(why, "%s %s: no Nack.Code; give a name such as TOPIC_UNKNOWN, or its number", k->name,
                    value);
    if (k->kind == KIND_COUNT && value && *value == '\0')
        return fail(why, "%s= needs a number behind it; give one or leave out the =", k->name);
    if (value && !read_number(k, value, &number, why)) return false;
    if (k->kind == KIND_PORT) *(uint16_t *)at = (uint16_t)number;
    else *(int64_t *)at = number;
    return true;
}

static bool read_one(options_t *o, const arg_t *arg, why_t *why)
{
    const option_t *k = arg->option;

    switch (arg->kind) {
    case ARG_OPTION: return store_value(o, k, arg->value, why);
    case ARG_UNWANTED: return fail(why, "%s takes no value; leave out %s", k->name, arg->value);
    case ARG_MISSING: return fail(why, "%s needs a value behind it; see ensignd --help", k->name);
    case ARG_WORD:
    case ARG_UNKNOWN: break;
    }
    return fail(why, "ensignd has no option %s; ensignd --help lists the options", arg->text);
}

/* There are no words but options, so none needs to be set off by -- */
static bool read_all(options_t *o, int argc, char **argv, why_t *why)
{
    static const option_table_t table = { known, sizeof known / sizeof known[0] };
    args_t all = { argc, argv, &table, 1, 1, 1, NULL, false };
    arg_t arg;

    while (args_next(&all, &arg) && !all.ended)
        if (!read_one(o, &arg, why)) return false;
    return !all.ended || fail(why, "ensignd has no option --; ensignd --help lists the options");
}

bool options_carry(const options_t *o)
{
    return o->dump || o->dump_all || o->load;
}

/* Not --store alone: what late:SEED names is gone with the process. */
static bool check_dump(const options_t *o, why_t *why)
{
    const char *name = o->load ? "--load" : o->dump ? "--dump" : "--dump-all";

    if (!options_carry(o)) return true;
    if ((o->load != NULL) + (o->dump != NULL) + o->dump_all > 1)
        return fail(why, "--dump, --dump-all and --load each end when they are done; give one of them");
    return o->data || o->nats ||
           fail(why, "%s is about what is stored; add --data FOLDER or --store nats://HOST", name);
}

/* It becomes a part of subjects and of names of streams. */
static bool is_prefix(const char *text)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    size_t n = strlen(text);
    return n <= PREFIX_MAX && strspn(text, letters) == n;
}

static bool check_nats(const options_t *o, why_t *why)
{
    if (!o->nats && (o->replicas || o->prefix))
        return fail(why, "%s is for NATS only; add --store nats://HOST or leave it out",
                    o->replicas ? "--replicas" : "--project-prefix");
    if (o->prefix && !is_prefix(o->prefix))
        return fail(why, "--project-prefix %s: a name in NATS has letters, digits, _ and -, %d at most; give "
                         "such a one", o->prefix, PREFIX_MAX);
    return true;
}

static bool check(const options_t *o, why_t *why)
{
    if (o->help) return true;
    if (o->store && o->memory)
        return fail(why, "--store keeps everything, --memory keeps nothing; leave out one of them");
    if (o->data && o->memory)
        return fail(why, "--data keeps everything, --memory keeps nothing; leave out one of them");
    if (!check_dump(o, why)) return false;
    if (o->tls && !o->cert_file && !options_carry(o))
        return fail(
            why,
            "--tls makes a certificate that clients have to trust; add --cert-file FILE to have it written");
    if (o->cert_file && !o->tls)
        return fail(why, "--cert-file is written with --tls only; add --tls or leave it out");
    if (o->client_ca && !o->tls)
        return fail(why, "--client-ca checks clients of TLS only; add --tls or leave it out");
    if (o->detach && o->verbose && !o->log_file && !options_carry(o))
        return fail(why, "--verbose tells nobody with --detach; add --log-file FILE or leave it out");
    if (o->port != 0 && o->port == o->auth_port)
        return fail(why, "--port and --auth-port are both %u; choose another for one of them",
                    (unsigned)o->port);
    if (o->lives.access + o->lives.overlap >= o->lives.refresh)
        return fail(why,
                    "a refresh token would end (after %lld s) before it is valid (after %lld s); raise "
                    "--refresh-life or lower --refresh-overlap", (long long)o->lives.refresh,
                    (long long)(o->lives.access + o->lives.overlap));
    return check_nats(o, why);
}

/* Before the defaults are filled in: what was given and would have no effect. */
static bool check_faults(const faults_t *f, why_t *why)
{
    if (f->nack_code != NOT_GIVEN && !f->nack_every)
        return fail(why, "--nack-code is the code of which nacks? add --nack-every N");
    if (f->cut_first && !f->cut_bytes && !f->cut_events)
        return fail(why, "--cut-first counts what is cut; add --cut-after-bytes N or --cut-after-events N");
    if (f->refuse_code != NOT_GIVEN && !f->refuse_auth)
        return fail(why, "--refuse-code is the status of which refusals? add --refuse-auth");
    return true;
}

static bool begins_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* --store FOLDER is --data by another name; late: is the engine that ensignd's own tests run on. */
static bool take_store(options_t *o, why_t *why)
{
    static const char late[] = "late:";

    if (!o->store) return true;
    if (o->data) return fail(why, "--data and --store are the same; leave out one of them");
    if (begins_with(o->store, late)) o->late = o->store + sizeof late - 1;
    else if (begins_with(o->store, "nats://") || begins_with(o->store, "tls://")) o->nats = o->store;
    else o->data = o->store;
    return true;
}

static void give_default(int64_t *to, int64_t value)
{
    if (*to == NOT_GIVEN) *to = value;
}

static void give_defaults(options_t *o)
{
    int64_t s = o->token_life;

    give_default(&o->lives.access, s ? s : 3600);
    give_default(&o->lives.refresh, s ? 2 * s : 7200);
    give_default(&o->lives.overlap, s ? -(s / 4) : -900);
    give_default(&o->faults.nack_code, 9);
    give_default(&o->faults.refuse_code, 403);
}

/* Where only --access-life is given, a default overlap of 15 minutes may lie before the login: that is no
   harm. */
bool options_read(options_t *o, int argc, char **argv, why_t *why)
{
    memset(o, 0, sizeof *o);
    o->listen = "127.0.0.1";
    o->port = 5356;
    o->auth_port = 8088;
    o->lives.access = o->lives.refresh = o->lives.overlap = NOT_GIVEN;
    o->faults.nack_code = o->faults.refuse_code = NOT_GIVEN;
    o->subscriber_queue = QUEUE_MESSAGES;
    o->max_groups = 1000;
    o->max_unacked = 256;
    o->ack_wait = 30;
    o->max_deliver = 5;
    o->store_timeout = 30;
    o->dedup_window = DEDUP_WINDOW_DEFAULT;
    if (!read_all(o, argc, argv, why)) return false;
    if (!o->help && !check_faults(&o->faults, why)) return false;
    give_defaults(o);
    return take_store(o, why) && check(o, why);
}
