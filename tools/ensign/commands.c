/* commands.c - the table of commands: their names, what help says of them, what runs them */
#include "options.h"
#include "bits.h"

const command_t commands[] = {
    { "publish", "TOPIC [DATA...]", "publish events",
      "Publishes each DATA as one event. Without DATA and --file the lines of standard input, or of the\n"
      "file that --lines names, are events; an empty line is passed over. Lines are read as they come,\n"
      "and no faster than the server takes them. Ends when the server has answered for each event; ^C\n"
      "stops reading, and waits for the answers to what was sent.\n",
      C_PUBLISH, 1, ANY, run_publish },
    { "subscribe", "[TOPIC...]", "print events as they are published",
      "Prints the events of these topics, or of all topics of the project, from now on. It goes on\n"
      "after a lost connection, and says so where events may be missing. An event that was printed is\n"
      "acknowledged: printed is all that ensign knows, and a program behind a pipe can end before it has\n"
      "handled the event. For work that must not be lost write a program that is a member of the group.\n"
      "\n"
      "The PLACE of --from is one of\n"
      "    beginning             the first event of each topic\n"
      "    N                     the event with the offset N, or the next one that there is\n"
      "    -N                    the last N events of each topic\n"
      "    2026-03-09T10:11:12Z  the first event that was stored then or later. A time has seconds, and a\n"
      "                          zone: Z, or one such as +01:00\n"
      "For -N and a time name the topics; the key needs the permissions topics:read and metrics:read.\n",
      C_SUBSCRIBE, 0, ANY, run_subscribe },
    { "query", "SQL", "print stored events",
      "Prints the events that an EnSQL query selects, such as\n"
      "    SELECT * FROM weather LIMIT 10\n"
      "SQL \"-\" is read from standard input. Events are printed as they come, however many there are: add "
      "a\n"
      "LIMIT if you want few. A query that selects no events is not an error.\n",
      C_QUERY, 1, 1, run_query },
    { "topics", "COMMAND", "list, make, change and remove topics", NULL, 0, 0, 0, NULL },
    { "topics ls", "", "list the topics of the project", NULL, C_LS, 0, 0, run_topics_ls },
    { "topics show", "TOPIC", "show all that is known of a topic", NULL, C_SHOW, 1, 1, run_topics_show },
    { "topics create", "NAME", "make a topic",
      "A name is a letter, then letters, digits, and . - _\n"
      "Queries of the public service cannot read a topic whose name has a dot, begins with a word of SQL\n"
      "such as or, as, like, from, or is t, f, true or false. ensignd reads such a name in double quotes.\n",
      C_CREATE, 1, 1, run_topics_create },
    { "topics exists", "TOPIC", "is there such a topic? exit status 0: yes, 5: no", NULL, C_EXISTS, 1, 1,
      run_topics_exists },
    { "topics archive", "TOPIC", "make a topic read-only, for good", NULL, C_ARCHIVE, 1, 1,
      run_topics_archive },
    { "topics rm", "TOPIC", "destroy a topic and all its events",
      "Asks for the topic's name on a terminal; elsewhere it needs --yes.\n", C_RM, 1, 1, run_topics_rm },
    { "topics policy", "TOPIC", "set when two events count as duplicates",
      "The service marks the duplicates among the events that are stored now; it does not watch those\n"
      "that are published later. ensignd compares those with the events of the last seconds, too.\n",
      C_POLICY, 1, 1, run_topics_policy },
    { "groups", "COMMAND", "list, show, reset and remove consumer groups",
      "A group is made by its first subscription: ensign subscribe TOPIC --group NAME. GROUP is a name\n"
      "or an id. These commands need a service that ensignd has.\n",
      0, 0, 0, NULL },
    { "groups ls", "", "list the groups of the project",
      "LAG is the number of events that are not done yet. PENDING are those of them that are out at a\n"
      "member, or wait for another delivery.\n",
      C_GROUPS_LS, 0, 0, run_groups_ls },
    { "groups show", "GROUP", "show a group and its place in each topic",
      "    OFFSET        every event of the topic up to this offset is done. Offsets are one sequence for\n"
      "                  all topics of the project, so they skip, and count nothing\n"
      "    LAG           events that are not done yet\n"
      "    PENDING       those of them that are out at a member, or wait for another delivery\n"
      "    REDELIVERIES  deliveries of an event that was delivered before\n"
      "    DEAD LETTERS  events that this group has sent to the topic NAME-dead\n",
      C_GROUPS_SHOW, 1, 1, run_groups_show },
    { "groups rm", "GROUP", "remove a group and its places",
      "The events stay. Asks for the group's name on a terminal; elsewhere it needs --yes. A group with\n"
      "members is not removed: end them first.\n",
      C_GROUPS_RM, 1, 1, run_groups_rm },
    { "groups reset", "GROUP [TOPIC...]", "set the place where a group goes on",
      "In these topics, or in all topics of the group. The event at the new place and all after it are\n"
      "delivered again. A group with members is not reset: end them first.\n"
      "\n"
      "The PLACE of --to is one of\n"
      "    beginning             the first event of the topic\n"
      "    N                     the event with the offset N, which is delivered first; or the next one\n"
      "    live                  what is published from now on\n"
      "    2026-03-09T10:11:12Z  the first event that was stored then or later. A time has seconds, and a\n"
      "                          zone: Z, or one such as +01:00\n"
      "The -N of subscribe --from is not possible here.\n",
      C_GROUPS_RESET, 1, ANY, run_groups_reset },
    { "info", "[TOPIC...]", "show the project: topics, events, sizes",
      "The server counts now and then: its figures can be a minute or two old.\n", C_INFO, 0, ANY, run_info },
    { "status", "", "ask the server how it is", "Needs no key. Exit status 0 if it is healthy.\n", C_STATUS,
      0, 0, run_status },
    { "health", "", "ask by gRPC's health protocol",
      "Works with every gRPC server that has grpc.health.v1. Exit status 0 if it is SERVING.\n", C_HEALTH, 0,
      0, run_health },
    { "call", "PACKAGE.SERVICE/METHOD [MESSAGE...]", "call any gRPC method",
      "Each MESSAGE is one message of the request, as JSON; - stands for the lines of standard input, a\n"
      "message each, which are sent as they come. Without MESSAGE and --file a method that takes one\n"
      "message gets one without fields. Prints each message of the answer as JSON, a line each; indented\n"
      "on a terminal. The types come from the server, by server reflection, unless --proto or --protoset\n"
      "gives them.\n"
      "With --hex or --raw messages are bytes, and no types are needed: each MESSAGE is in hexadecimal\n"
      "digits, and \"\" is an empty one; without MESSAGE and --file the message is standard input.\n"
      "    ensign call --list\n"
      "    ensign call --template grpc.health.v1.HealthCheckRequest\n"
      "    ensign call grpc.health.v1.Health/Check '{\"service\": \"\"}'\n",
      C_CALL, 0, ANY, run_call },
    { "bench", "TOPIC", "measure publishing and round trips",
      "Publishes --events events of --size bytes as fast as the server takes them, and reads them back\n"
      "through a subscription; then sends --trips events one at a time and waits for each.\n"
      "The figures are of this machine, this network and that server together. In the first part\n"
      "most of the time to an answer is waiting in line; the second part shows the way alone. CPU is\n"
      "that of this process, both sides of it. The events stay in the topic.\n",
      C_BENCH, 1, 1, run_bench },
    { "help", "[COMMAND]", "the same as COMMAND --help", NULL, C_HELP, 0, 2, run_help },
    { NULL, NULL, NULL, NULL, 0, 0, 0, NULL },
};
