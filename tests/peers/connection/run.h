/* run.h - what the clients of tests/peers/connection share: a client of the ENSIGN_ variables, and results
 *
 * Each program prints one line a result, "ok N - what (LABEL)", and lines of diagnostics that begin with '#';
 * LABEL is its first argument. It includes ensign.h before this file, and is linked with an object of it. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *run_label = "";
static unsigned run_results, run_failures;

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    va_list args;

    printf("# %s: ", run_label);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

/* One result; the words say what is promised. */
__attribute__((format(printf, 2, 3))) static void result(bool ok, const char *format, ...)
{
    va_list args;

    printf("%s %u - ", ok ? "ok" : "not ok", ++run_results);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf(" (%s)\n", run_label);
    fflush(stdout);
    run_failures += !ok;
}

/* What a notice's error says; a notice without one has no words. */
static const char *words(const ensign_notice_t *n)
{
    return n->error ? n->error->text : "no error";
}

__attribute__((unused)) static bool says(const ensign_notice_t *n, const char *what)
{
    return n->error && strstr(n->error->text, what);
}

static void run_start(int argc, char **argv, int wanted, const char *usage)
{
    if (argc != wanted) {
        fprintf(stderr, "usage: %s, with ENSIGN_ENDPOINT set\n", usage);
        exit(2);
    }
    run_label = argv[1];
}

/* The desc's other fields come from the environment. */
static ensign_t *run_client(ensign_desc_t *d)
{
    ensign_error_t why;
    ensign_t *c;

    if (ensign_desc_env(d, &why) == ENSIGN_OK && ensign_create(d, &c, &why) == ENSIGN_OK) return c;
    fprintf(stderr, "%s: %s\n", run_label, why.text);
    exit(2);
}

/* Waits until a notice is pending or it is `until`, by ensign_now_ms. ping.c and retry.c wait in ways of their own. */
__attribute__((unused)) static void run_wait(ensign_t *c, uint64_t until)
{
    uint64_t now = ensign_now_ms();
    int rc = ensign_wait(c, NULL, 0, until > now ? (int)(until - now) : 0);

    if (rc >= 0) return;
    fprintf(stderr, "%s: ensign_wait: %s\n", run_label, ensign_error(c)->text);
    exit(2);
}
