/* dials.h - what becomes of each connection that a link dials, by the last digit of its address, and the
 * order in which the addresses were dialled. addresses.c uses it for one name, endpoints.c for several
 * endpoints. */
#ifndef DIALS_H
#define DIALS_H

#include "service.h"

enum { DIALS_MOST = ENSIGN_MAX_ADDRESSES, TIMEOUT = 20000 /* connect_timeout_ms, auth_timeout_ms */ };
static dial_t answers[DIALS_MOST];  /* of 192.0.2.1 and so on */
static int tested;                  /* the link that they are for; the other one is accepted */
static char dialled[256];           /* the last digit of each address, in the order of dialling */

static dial_t on_dial(world_t *w, int link, const char *address)
{
    size_t n = strlen(dialled);
    (void)w;
    if (link != tested) return DIAL_ACCEPT;
    if (n + 1 < sizeof dialled) dialled[n] = address[strlen(address) - 1], dialled[n + 1] = '\0';
    return answers[address[strlen(address) - 1] - '1'];
}

/* The link is tested with `count` addresses: the last one answers `last`, the others `others`. */
static void dials_begin(world_t *w, int link, size_t count, dial_t others, dial_t last)
{
    tested = link;
    dialled[0] = '\0';
    for (size_t i = 0; i < count; i++) answers[i] = i + 1 < count ? others : last;
    w->on_dial = on_dial;
    w->desc.connect_timeout_ms = w->desc.auth_timeout_ms = TIMEOUT;
}

#endif
