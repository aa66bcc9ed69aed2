/* sans_io.c - a gRPC call without a socket, a clock or any header of an operating system
 * Shows   ensign_link, ensign_rx_buf, ensign_tx_buf, ensign_tick: how bytes move where there is no poll
 * Run     build/examples/sans_io
 * Prints  the message that a server in memory has sent back
 * Next    raii.cc */
#define ENSIGN_IMPLEMENTATION
#define ENSIGN_NO_SOCKETS
#include "../ensign.h"
#include <stdio.h>
#include <string.h>

/* The other end: as little of an HTTP/2 server as can answer one call, by sending its message back. */
static struct { unsigned char in[65536], out[65536]; size_t in_len, out_len; } peer;

static const unsigned char settings[] = { 0, 0, 0, 4, 0, 0, 0, 0, 0 };
static const unsigned char settings_ack[] = { 0, 0, 0, 4, 1, 0, 0, 0, 0 };
static const unsigned char headers[] = { /* HEADERS, END_HEADERS, stream 1 */
    0, 0, 20, 1, 4, 0, 0, 0, 1, 0x88, /* :status 200; content-type */
    0x0F, 0x10, 16, 'a', 'p', 'p', 'l', 'i', 'c', 'a', 't', 'i', 'o', 'n', '/', 'g', 'r', 'p', 'c'
};
static const unsigned char trailers[] = { /* HEADERS, END_HEADERS and END_STREAM, stream 1 */
    0, 0, 15, 1, 5, 0, 0, 0, 1, 0, 11, 'g', 'r', 'p', 'c', '-', 's', 't', 'a', 't', 'u', 's', 1, '0'
};

static void say(const unsigned char *bytes, size_t n)
{
    memcpy(peer.out + peer.out_len, bytes, n);
    peer.out_len += n;
}

static void answer(const unsigned char *frame, size_t len)
{
    const unsigned type = frame[3], flags = frame[4];

    if (type == 4 && flags == 0) { /* SETTINGS of the client */
        say(settings, sizeof settings);
        say(settings_ack, sizeof settings_ack);
    } else if (type == 1) { /* HEADERS of the call */
        say(headers, sizeof headers);
    } else if (type == 0) { /* DATA: the message, which goes back as it is, but does not end the stream */
        unsigned char head[9];
        memcpy(head, frame, sizeof head);
        head[4] = 0;
        say(head, sizeof head);
        say(frame + 9, len);
        if (flags & 1) say(trailers, sizeof trailers);
    }
}

/* Takes whole frames; what is cut waits for the rest. The first 24 bytes are the client's preface. */
static void hear(const unsigned char *bytes, size_t n)
{
    static size_t at;

    memcpy(peer.in + peer.in_len, bytes, n);
    peer.in_len += n;
    if (at == 0 && peer.in_len >= 24) at = 24;
    while (at > 0 && peer.in_len - at >= 9) {
        const unsigned char *f = peer.in + at;
        size_t len = ((size_t)f[0] << 16) | ((size_t)f[1] << 8) | f[2];
        if (peer.in_len - at < 9 + len) break;
        answer(f, len);
        at += 9 + len;
    }
}

/* Does what the link wants, as a driver for a modem, a queue or a simulation would. */
static void move(ensign_t *c, uint64_t now_ms)
{
    ensign_link_t link;
    size_t n;

    ensign_tick(c, now_ms);
    ensign_link(c, ENSIGN_LINK_RPC, &link);
    if (link.todo == ENSIGN_LINK_DIAL) ensign_link_up(c, ENSIGN_LINK_RPC, link.attempt, 0, now_ms);
    if (link.todo == ENSIGN_LINK_HANGUP) ensign_link_down(c, ENSIGN_LINK_RPC, link.attempt, 0, now_ms);
    if (link.todo == ENSIGN_LINK_RUN) {
        const uint8_t *tx = ensign_tx_buf(c, ENSIGN_LINK_RPC, &n);
        uint8_t *rx;
        if (n > 0) hear(tx, n);
        ensign_tx_ack(c, ENSIGN_LINK_RPC, n);
        rx = ensign_rx_buf(c, ENSIGN_LINK_RPC, &n);
        if (n > peer.out_len) n = peer.out_len;
        if (n > 0) memcpy(rx, peer.out, n);
        memmove(peer.out, peer.out + n, peer.out_len -= n);
        if (n > 0) ensign_rx_ack(c, ENSIGN_LINK_RPC, n, now_ms);
    }
}

int main(void)
{
    static ensign_desc_t d; /* zeroed: every field has its default */
    static ensign_call_desc_t call;
    const ensign_notice_t *n;
    ensign_error_t why;
    ensign_t *c;
    int status = -1;

    if (ensign_desc_env(&d, &why) != ENSIGN_OK) return fprintf(stderr, "sans_io: %s\n", why.text), 1;
    d.endpoint = "127.0.0.1:50051"; /* an address: nothing has to be resolved */
    d.client_id = d.client_secret = NULL; /* the server in memory knows no keys */
    d.tls.off = true;
    d.io = ENSIGN_IO_CALLER;
    if (ensign_create(&d, &c, &why) != ENSIGN_OK) return fprintf(stderr, "sans_io: %s\n", why.text), 1;
    call.method = "/example.Echo/Say";
    call.request = ensign_str("hello from nowhere"); /* any bytes: messages are the caller's matter */
    call.unary = true;
    if (ensign_call_open(c, &call).id == 0) return fprintf(stderr, "sans_io: %s\n", ensign_error(c)->text), 1;
    for (uint64_t now_ms = 0; status < 0 && now_ms < 1000; now_ms++) { /* any clock that never goes back */
        move(c, now_ms);
        while ((n = ensign_next(c)) != NULL) {
            if (n->type == ENSIGN_NOTICE_REPLY) {
                ensign_slice_t message = n->as.reply.message;
                printf("%.*s\n", (int)message.len, (const char *)message.ptr);
                status = n->as.reply.status;
            }
            if (n->error) fprintf(stderr, "sans_io: %s\n", n->error->text);
        }
    }
    ensign_destroy(c);
    return status == ENSIGN_GRPC_OK ? 0 : 1;
}
