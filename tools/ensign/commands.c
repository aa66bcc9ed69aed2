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
      "after a lost connection, and says so where events may be missing.\n",
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
      "For queries avoid dots, names that begin with a word of SQL such as or, as, like, from, and the\n"
      "names t, f, true and false.\n",
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
