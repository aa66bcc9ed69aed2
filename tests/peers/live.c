/* live.c - what live.sh asks of a server besides events
 *
 *   live status         prints the state and the version of the server
 *   live wrong-secret   with a wrong secret the client must end for good, and say E_CREDENTIALS
 *   live not-allowed    ENSIGN_READER_CLIENT_ID's publisher must end for good with PERMISSION_DENIED
 *
 * The service is told by the ENSIGN_ variables. Exit status 0: it was as wanted; what was seen is printed.
 */
#define ENSIGN_IMPLEMENTATION
#include "ensign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_MS = 30000 };

static int fail(const char *what, const char *text)
{
    printf("%s: %s\n", what, text);
    return 1;
}

static const ensign_notice_t *await(ensign_t *c, uint32_t handle)
{
    const ensign_notice_t *n = NULL;
    int rc = ensign_await(c, handle, WAIT_MS, &n);

    if (rc == ENSIGN_OK) return n;
    fail(ensign_result_name(rc), ensign_error(c)->text);
    return NULL;
}

static int status(ensign_t *c)
{
    static const char *const names[] = { "UNKNOWN", "HEALTHY", "UNHEALTHY", "DANGER", "OFFLINE",
                                         "MAINTENANCE" };
    ensign_request_t q = ensign_status(c, NULL);
    const ensign_notice_t *n;
    ensign_slice_t version;

    if (q.id == 0) return fail("status", ensign_error(c)->text);
    if ((n = await(c, q.id)) == NULL) return 1;
    if (n->type != ENSIGN_NOTICE_STATUS) return fail("status", n->error ? n->error->text : "no answer");
    if (n->as.status.state < 0 || n->as.status.state > 5) return fail("status", "a state that is not known");
    version = n->as.status.version;
    printf("%s, version %.*s\n", names[n->as.status.state], (int)version.len, (const char *)version.ptr);
    return 0;
}

/* Credentials are checked at the first call that needs them. Both must end: the request, and the client. */
static int wrong_secret(ensign_t *c)
{
    ensign_request_t q = ensign_topic_list(c, NULL);
    const ensign_notice_t *n;

    if (q.id == 0) return fail("topic list", ensign_error(c)->text);
    if ((n = await(c, q.id)) == NULL) return 1;
    if (n->type != ENSIGN_NOTICE_END || !n->error) return fail("topic list", "it did not end with an error");
    printf("%s: %s\n", ensign_result_name(n->error->code), n->error->text);
    if (n->error->code != ENSIGN_E_CREDENTIALS) return fail("topic list", "the error is not E_CREDENTIALS");
    do if ((n = await(c, ENSIGN_CLIENT)) == NULL) return fail("client", "no FAILED came");
    while (n->type == ENSIGN_NOTICE_CONNECTED || n->type == ENSIGN_NOTICE_DISCONNECTED);
    if (n->type != ENSIGN_NOTICE_FAILED || !n->error) return fail("client", "it did not fail");
    return n->error->code == ENSIGN_E_CREDENTIALS ? 0 : fail("client", "FAILED without E_CREDENTIALS");
}

static int not_allowed(ensign_t *c)
{
    const ensign_publisher_desc_t d = { .topic = "live" };
    const int wanted = ENSIGN_E_GRPC - ENSIGN_GRPC_PERMISSION_DENIED;
    ensign_publisher_t p = ensign_publisher_open(c, &d);
    const ensign_notice_t *n;
    ensign_event_t e = { 0 };
    bool nacked = false;

    e.data = ensign_str("{}");
    if (p.id == 0 || ensign_publish(c, p, &e) != ENSIGN_OK) return fail("publish", ensign_error(c)->text);
    while ((n = await(c, p.id)) != NULL && n->type != ENSIGN_NOTICE_END) {
        nacked |= n->type == ENSIGN_NOTICE_NACK;
        if (n->type == ENSIGN_NOTICE_ACK) return fail("publish", "it was allowed");
    }
    if (!n || !n->error) return fail("publisher", "it did not end with an error");
    printf("%s: %s\n", ensign_result_name(n->error->code), n->error->text);
    if (n->error->code != wanted) return fail("publisher", "the error is not PERMISSION_DENIED");
    return nacked ? 0 : fail("publisher", "its event got no NACK before END");
}

int main(int argc, char **argv)
{
    static char wrong[] = "not the secret of this key";
    const char *what = argc == 2 ? argv[1] : "";
    ensign_desc_t d = { 0 };
    ensign_error_t why = { 0 };
    ensign_t *c = NULL;
    int rc = 2;

    if (strcmp(what, "wrong-secret") == 0) d.client_secret = wrong;
    if (strcmp(what, "not-allowed") == 0) {
        d.client_id = getenv("ENSIGN_READER_CLIENT_ID");
        d.client_secret = getenv("ENSIGN_READER_CLIENT_SECRET");
    }
    if (ensign_desc_env(&d, &why) != ENSIGN_OK || ensign_create(&d, &c, &why) != ENSIGN_OK)
        return fail("client", why.text);
    if (strcmp(what, "status") == 0) rc = status(c);
    else if (strcmp(what, "wrong-secret") == 0) rc = wrong_secret(c);
    else if (strcmp(what, "not-allowed") == 0) rc = not_allowed(c);
    else fprintf(stderr, "usage: live status | wrong-secret | not-allowed\n");
    ensign_destroy(c);
    return rc;
}
