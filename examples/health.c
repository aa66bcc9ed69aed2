/* health.c - ask whether the services are well, or watch them
 * Shows   requests to the server and to the auth service; a watch, which is opened again by itself
 * Run     build/examples/health                    (or: build/examples/health watch 3, for three states)
 * Prints  the state of the server, of its health service, and of the auth service; exit 0 when all are well
 * Next    grpc_unary.c */
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include <stdio.h>
#include <stdlib.h>

static int fail(const char *what, const ensign_error_t *why)
{
    fprintf(stderr, "health: %s: %s\n", what, why->text);
    return 1;
}

/* One request, one answer. */
static int ask(ensign_t *c, const char *what, ensign_request_t r)
{
    const ensign_notice_t *n;
    bool well;

    if (r.id == 0) return fail(what, ensign_error(c)); /* auth: the desc has neither key nor auth_url */
    if (ensign_await(c, r.id, -1, &n) != ENSIGN_OK) return fail(what, ensign_error(c));
    if (n->error) return fail(what, n->error);
    if (n->type == ENSIGN_NOTICE_HEALTH) {
        well = n->as.health.state == ENSIGN_HEALTH_SERVING;
        printf("%s: %s\n", what, ensign_enum_name(ENSIGN_NAMES_HEALTH, n->as.health.state));
    } else {
        well = n->as.status.state == ENSIGN_SERVICE_HEALTHY;
        printf("%s: %s, version %.*s\n", what, ensign_enum_name(ENSIGN_NAMES_SERVICE, n->as.status.state),
               (int)n->as.status.version.len, (const char *)n->as.status.version.ptr);
    }
    return well ? 0 : 1;
}

static int ask_all(ensign_t *c)
{
    int status = ask(c, "server", ensign_status(c, NULL));

    status |= ask(c, "health", ensign_health(c, "", false, NULL));
    status |= ask(c, "auth", ensign_auth_status(c, NULL));
    return status;
}

static int watch(ensign_t *c, unsigned long states)
{
    ensign_request_t r = ensign_health(c, "", true, NULL);
    const ensign_notice_t *n;

    while (states > 0) {
        if (ensign_await(c, r.id, -1, &n) != ENSIGN_OK) return fail("watch", ensign_error(c));
        if (n->last) return fail("watch", n->error);
        if (n->type == ENSIGN_NOTICE_WAITING) fail("watch", n->error); /* it goes on by itself */
        if (n->type != ENSIGN_NOTICE_HEALTH) continue;
        printf("%s\n", ensign_enum_name(ENSIGN_NAMES_HEALTH, n->as.health.state));
        fflush(stdout);
        states--;
    }
    ensign_forget(c, r.id);
    return 0;
}

int main(int argc, char **argv)
{
    ensign_desc_t desc = { 0 };
    ensign_error_t why;
    ensign_t *c;
    int status;

    if (ensign_desc_env(&desc, &why) != ENSIGN_OK) return fail("environment", &why);
    if (ensign_create(&desc, &c, &why) != ENSIGN_OK) return fail("create", &why);
    if (argc == 3) status = watch(c, strtoul(argv[2], NULL, 10));
    else status = ask_all(c);
    ensign_destroy(c);
    return status;
}
