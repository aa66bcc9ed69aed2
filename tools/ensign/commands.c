/* commands.c - the table of commands: their names, what help says of them, what runs them */
#include "options.h"
#include "bits.h"

const command_t commands[] = {
    { "publish", "TOPIC [DATA...]", "publish events",
      "Publishes each DATA as one event. Without DATA and --file the lines of standard input, or of the\n"
      "file that --lines names, are events; an empty line is none. Lines are read as they come, and no\n"
      "faster than the server takes them. Ends when all are answered; ^C stops reading and waits for\n"
      "the answers of what was sent.\n",
      C_PUBLISH, 1, ANY, run_publish },
    { "subscribe", "[TOPIC...]", "print events as they are published",
      "Prints the events of these topics, or of all topics of the project, from now on. It goes on\n"
      "after a lost connection, and says so where events may be missing.\n",
      C_SUBSCRIBE, 0, ANY, run_subscribe },
    { "topics", "COMMAND", "list, make, change and remove topics", NULL, 0, 0, 0, NULL },
    { "topics ls", "", "list the topics of the project", NULL, C_LS, 0, 0, run_topics_ls },
    { "topics show", "TOPIC", "show all that is known of a topic", NULL, C_SHOW, 1, 1, run_topics_show },
    { "topics create", "NAME", "make a topic",
      "A name is a letter, then letters, digits, and . - _\n"
      "For queries avoid dots, and names that begin with a word of SQL such as or, as, like, from.\n",
      C_CREATE, 1, 1, run_topics_create },
    { "status", "", "ask the server how it is", "Needs no key. Exit status 0 if it is healthy.\n", C_STATUS,
      0, 0, run_status },
    { "call", "/PACKAGE.SERVICE/METHOD [MESSAGE...]", "call any gRPC method",
      "Each MESSAGE, in hexadecimal digits, is one encoded message of the request; \"\" is an empty one.\n"
      "Without MESSAGE and --file the message is standard input. Prints each message of the answer.\n",
      C_CALL, 1, ANY, run_call },
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
