/* credentials.c - take an API key from arguments, a file or the environment, and see which project it opens
 * Shows   ensign_desc_file, ensign_desc_env and which of them counts; the errors of a source and of a key
 * Run     build/examples/credentials [FILE [ID SECRET]]        (FILE as the service gives it out, "": none)
 * Prints  where the key came from, the project's id and how many topics it has; exit 0, 1 on an error
 * Next    health.c */
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include <inttypes.h>
#include <stdio.h>

static int fail(const char *what, const ensign_error_t *e)
{
    fprintf(stderr, "credentials: %s: %s: %s\n", what, ensign_result_name(e->code), e->text);
    return 1;
}

/* Each source fills only what is still open: the first that has a key counts, in the order of these lines.
 * A file that is asked for must be good, though, even when its key is not needed. */
static int find_key(ensign_desc_t *d, int argc, char **argv)
{
    static char file[8192]; /* the file's strings lie here until ensign_create has copied them */
    const char *from = "the environment";
    ensign_error_t why;

    if (argc > 3) d->client_id = argv[2], d->client_secret = argv[3], from = "the arguments";
    if (argc > 1 && argv[1][0]) {
        if (ensign_desc_file(d, argv[1], file, sizeof file, &why) != ENSIGN_OK) return fail("file", &why);
        if (d->client_id == file) from = "the file";
    }
    if (ensign_desc_env(d, &why) != ENSIGN_OK) return fail("environment", &why);
    printf("key from %s\n", d->client_id ? from : "nowhere");
    return 0;
}

/* The first answer of ensign_info has the sums of the project. */
static int print_project(ensign_t *c)
{
    ensign_request_t r = ensign_info(c, NULL, 0, NULL);
    const ensign_notice_t *n;
    char id[27];

    if (r.id == 0) return fail("info", ensign_error(c));
    if (ensign_await(c, r.id, -1, &n) != ENSIGN_OK) /* request_timeout_ms ends it */
        return fail("info", ensign_error(c));
    if (n->error) return fail("info", n->error); /* E_CREDENTIALS: the auth service refuses the key */
    ensign_ulid_text(n->as.project->id, id);
    printf("project %s, %" PRIu64 " topics\n", id, n->as.project->topics);
    return 0;
}

int main(int argc, char **argv)
{
    static ensign_desc_t d; /* zeroed: every field has its default */
    ensign_error_t why;
    ensign_t *c;
    int status;

    if (argc == 3 || argc > 4) return fprintf(stderr, "usage: credentials [FILE [ID SECRET]]\n"), 2;
    if (find_key(&d, argc, argv) != 0) return 1;
    if (ensign_create(&d, &c, &why) != ENSIGN_OK) return fail("create", &why);
    status = print_project(c);
    ensign_destroy(c); /* its copy of the secret is wiped */
    return status;
}
