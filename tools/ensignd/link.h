/* link.h - a connected socket, with TLS in it or without
 *
 * Reads give what the peer meant (plaintext); writes go into a buffer that flush empties into the socket. */
#ifndef ENSIGND_LINK_H
#define ENSIGND_LINK_H
#include "tls.h"

#define LINK_BACKLOG 262144     /* bytes waiting for the socket, above which nobody should write more */

typedef struct link_t {
    int    fd;
    tls_t *tls;                 /* NULL: plaintext */
    bool   up;                  /* handshake done, or none needed */
    bool   lost;
    uint64_t cut_left;          /* bytes that may still be sent, then it is lost on purpose; 0: no bound */
    buf_t  rx, tx;              /* bytes as they stand on the wire; rx with TLS only */
    char   peer[64];            /* host:port; of a Unix socket, which has no name there, the descriptor */
} link_t;

bool   link_open(link_t *l, int fd, tls_server_t *tls);
int    link_read(link_t *l, uint8_t *out, size_t cap);  /* > 0 bytes; 0: none now; -1: lost or ended */
size_t link_room(const link_t *l);
void   link_write(link_t *l, const uint8_t *p, size_t n);
void   link_flush(link_t *l);
bool   link_wants_write(const link_t *l);
void   link_cut(link_t *l);             /* loses it on purpose, without TLS's goodbye */
void   link_close(link_t *l);
#endif
