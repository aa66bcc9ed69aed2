/* sans_io.c - a gRPC call without a socket, a clock or any header of an operating system
 * Shows   ensign_link, ensign_rx_buf, ensign_tx_buf, ensign_tick: how bytes move where there is no poll
 * Run     build/examples/sans_io
 * Prints  the messages that a server in memory has sent back, over two connections side by side
 * Next    openssl.c */
#define ENSIGN_IMPLEMENTATION
#define ENSIGN_NO_SOCKETS
#include "../ensign.h"
#include <stdio.h>
#include <string.h>

/* The other end: as little of an HTTP/2 server as can answer one call a connection, by sending its message
 * back. It sends a GOAWAY with the first call, so the second call takes another connection, and it ends both
 * calls when the second one is complete. */
typedef struct peer_t { unsigned char in[65536], out[65536]; size_t in_len, in_at, out_len; } peer_t;
static peer_t peers[ENSIGN_MAX_LINKS]; /* in place of sockets: one for each link */

static const unsigned char settings[] = { 0, 0, 0, 4, 0, 0, 0, 0, 0 };
static const unsigned char settings_ack[] = { 0, 0, 0, 4, 1, 0, 0, 0, 0 };
static const unsigned char goaway[] = { /* stream 1 goes on, later ones are refused */
    0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0
};
static const unsigned char headers[] = { /* HEADERS, END_HEADERS, stream 1 */
    0, 0, 20, 1, 4, 0, 0, 0, 1, 0x88, /* :status 200; content-type */
    0x0F, 0x10, 16, 'a', 'p', 'p', 'l', 'i', 'c', 'a', 't', 'i', 'o', 'n', '/', 'g', 'r', 'p', 'c'
};
static const unsigned char trailers[] = { /* HEADERS, END_HEADERS and END_STREAM, stream 1 */
    0, 0, 15, 1, 5, 0, 0, 0, 1, 0, 11, 'g', 'r', 'p', 'c', '-', 's', 't', 'a', 't', 'u', 's', 1, '0'
};

static void say(peer_t *p, const unsigned char *bytes, size_t n)
{
    memcpy(p->out + p->out_len, bytes, n);
    p->out_len += n;
}

static void answer(peer_t *p, const unsigned char *frame, size_t len)
{
    static unsigned calls;
    const unsigned type = frame[3], flags = frame[4];

    if (type == 4 && flags == 0) { /* SETTINGS of the client */
        say(p, settings, sizeof settings);
        say(p, settings_ack, sizeof settings_ack);
    } else if (type == 1) { /* HEADERS of the call */
        if (++calls == 1) say(p, goaway, sizeof goaway);
        say(p, headers, sizeof headers);
    } else if (type == 0) { /* DATA: the message, which goes back as it is, but does not end the stream */
        unsigned char head[9];
        memcpy(head, frame, sizeof head);
        head[4] = 0;
        say(p, head, sizeof head);
        say(p, frame + 9, len);
        for (int i = 0; i < ENSIGN_MAX_LINKS && (flags & 1) && calls == 2; i++)
            if (peers[i].in_len > 0) say(&peers[i], trailers, sizeof trailers);
    }
}

/* Takes whole frames; what is cut waits for the rest. The first 24 bytes are the client's preface. */
static void hear(peer_t *p, const unsigned char *bytes, size_t n)
{
    memcpy(p->in + p->in_len, bytes, n);
    p->in_len += n;
    if (p->in_at == 0 && p->in_len >= 24) p->in_at = 24;
    while (p->in_at > 0 && p->in_len - p->in_at >= 9) {
        const unsigned char *f = p->in + p->in_at;
        size_t len = ((size_t)f[0] << 16) | ((size_t)f[1] << 8) | f[2];
        if (p->in_len - p->in_at < 9 + len) break;
        answer(p, f, len);
        p->in_at += 9 + len;
    }
}

/* The bytes of one link, both ways. */
static void run(ensign_t *c, int link, peer_t *p, uint64_t now_ms)
{
    size_t n;
    const uint8_t *tx = ensign_tx_buf(c, link, &n);
    uint8_t *rx;

    if (n > 0) hear(p, tx, n);
    ensign_tx_ack(c, link, n);
    rx = ensign_rx_buf(c, link, &n);
    if (n > p->out_len) n = p->out_len;
    if (n > 0) memcpy(rx, p->out, n);
    memmove(p->out, p->out + n, p->out_len -= n);
    if (n > 0) ensign_rx_ack(c, link, n, now_ms);
}

/* Does what each link wants, as a driver for a modem, a queue or a simulation would. */
static void move(ensign_t *c, uint64_t now_ms)
{
    ensign_tick(c, now_ms);
    for (int i = 0; i < ENSIGN_MAX_LINKS; i++) {
        ensign_link_t link;
        ensign_link(c, i, &link);
        if (link.todo == ENSIGN_LINK_DIAL) {
            memset(&peers[i], 0, sizeof peers[i]); /* a new connection */
            ensign_link_up(c, i, link.attempt, 0, now_ms);
        }
        if (link.todo == ENSIGN_LINK_RUN) run(c, i, &peers[i], now_ms);
        if (link.todo == ENSIGN_LINK_HANGUP) ensign_link_down(c, i, link.attempt, 0, now_ms);
    }
}

static bool call_open(ensign_t *c, const char *message)
{
    ensign_call_desc_t call;

    memset(&call, 0, sizeof call);
    call.method = "/example.Echo/Say";
    call.request = ensign_str(message); /* any bytes: messages are the caller's matter */
    call.unary = true;
    if (ensign_call_open(c, &call).id != 0) return true;
    fprintf(stderr, "sans_io: %s\n", ensign_error(c)->text);
    return false;
}

int main(void)
{
    static ensign_desc_t d; /* zeroed: every field has its default */
    const ensign_notice_t *n;
    ensign_error_t why;
    ensign_t *c;
    int answers = 0;
    bool good;

    if (ensign_desc_env(&d, &why) != ENSIGN_OK) return fprintf(stderr, "sans_io: %s\n", why.text), 1;
    d.endpoint = "127.0.0.1:50051"; /* an address: nothing has to be resolved */
    d.client_id = d.client_secret = NULL; /* the server in memory knows no keys */
    d.tls.off = true;
    d.io = ENSIGN_IO_CALLER;
    if (ensign_create(&d, &c, &why) != ENSIGN_OK) return fprintf(stderr, "sans_io: %s\n", why.text), 1;
    good = call_open(c, "hello from nowhere");
    for (uint64_t now_ms = 0; good && answers < 2 && now_ms < 1000; now_ms++) { /* it never goes back */
        move(c, now_ms);
        while ((n = ensign_next(c)) != NULL) {
            if (n->type == ENSIGN_NOTICE_REPLY) {
                ensign_slice_t message = n->as.reply.message;
                printf("%.*s\n", (int)message.len, (const char *)message.ptr);
                answers++;
            }
            if (n->type == ENSIGN_NOTICE_GOAWAY) { /* the call goes on; this one takes the next connection */
                good = call_open(c, "and from the next connection");
            } else if (n->error) {
                fprintf(stderr, "sans_io: %s\n", n->error->text);
                good = false;
            }
        }
    }
    ensign_destroy(c);
    return good && answers == 2 ? 0 : 1;
}
