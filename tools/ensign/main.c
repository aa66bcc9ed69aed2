/* main.c - ensign, the command-line client: reads the options, runs the command */
#include "options.h"
#include <errno.h>
#include <signal.h>

int main(int argc, char **argv)
{
    static options_t o;
    bool done;
    int status;

    signal(SIGPIPE, SIG_IGN);
    status = options_read(&o, argc, argv, &done);
    if (!done && status == EXIT_DONE) status = o.command->run(&o);
    out_flush();
    if (out_failed() == EPIPE) return EXIT_SIGNAL + SIGPIPE;
    return out_failed() != 0 && status == EXIT_DONE ? EXIT_FAILED : status;
}
