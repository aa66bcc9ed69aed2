/* small.h - what the programs of `make small` share: a desc from the environment, words on stderr, and the
 * formatter of ensign.h for the libraries, which would link the C library's else */
#ifndef SMALL_H
#define SMALL_H
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#include <unistd.h>

int small_snprintf(char *out, size_t cap, const char *format, ...);
int small_snprintf(char *out, size_t cap, const char *format, ...)
{
    va_list args;
    int len;

    va_start(args, format);
    len = ensi_fmt_v(out, cap, format, args);
    va_end(args);
    return len;
}

int small_vsnprintf(char *out, size_t cap, const char *format, va_list args);
int small_vsnprintf(char *out, size_t cap, const char *format, va_list args)
{
    return ensi_fmt_v(out, cap, format, args);
}

static void say(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) < 0 || write(fd, "\n", 1) < 0) _exit(2);
}

static int fail(const ensign_error_t *why)
{
    say(STDERR_FILENO, why->text);
    return 1;
}

static void from_environment(ensign_desc_t *d)
{
    d->endpoint = getenv("ENSIGN_ENDPOINT");
#ifdef ENSIGN_NO_TLS
    d->tls.off = true;
#else
    d->tls.ca_file = d->auth_tls.ca_file = getenv("ENSIGN_CA_FILE");
#endif
}
#endif
