/* main.c - ensign, the command-line client: reads the options, runs the command */
#include "options.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

/* One of the three that is closed would be given to the next socket. It is opened the wrong way round: so the
 * use of it fails, as it should. */
static void keep_three_open(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0) (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int main(int argc, char **argv)
{
    static options_t o;
    bool done;
    int status;

    keep_three_open();
    signal(SIGPIPE, SIG_IGN);
    status = options_read(&o, argc, argv, &done);
    if (!done && status == EXIT_DONE) status = o.command->run(&o);
    x_keep_end();
    out_flush();
    if (out_failed() == EPIPE) return EXIT_SIGNAL + SIGPIPE;
    return out_failed() != 0 && status == EXIT_DONE ? EXIT_FAILED : status;
}
