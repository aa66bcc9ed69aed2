/* sockets.c - the socket driver against listeners of this process, on ports of the kernel's choice */
#define _POSIX_C_SOURCE 200809L
#define ENSI_SOCK_BUDGET 4096 /* small, so that it runs out */
#define getaddrinfo any_getaddrinfo   /* the test is the resolver */
#define freeaddrinfo any_freeaddrinfo
#include <sys/socket.h>
#include <sys/types.h>

static unsigned reads;                /* of the driver */

static ssize_t counted_recv(int fd, void *to, size_t n, int flags)
{
    reads++;
    return recv(fd, to, n, flags);
}

#define recv counted_recv
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#undef recv
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

enum { PREFACE = 24, TURNS = 2000 };
static const uint8_t settings[9] = { 0, 0, 0, 4, 0, 0, 0, 0, 0 };

typedef struct { int fd; uint16_t port; ensign_t *c; int peer; uint64_t ahead; /* of the clock */ } net_t;

/* ---- a server, as little of one as a socket can tell from a real one */
static int bound(const char *address, uint16_t port, uint16_t *got)
{
    struct sockaddr_in a;
    socklen_t len = sizeof a;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    assert_int_equal(inet_pton(AF_INET, address, &a.sin_addr), 1);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *got = ntohs(a.sin_port);
    return fd;
}

static void client(net_t *n, const char *host, int io)
{
    char endpoint[80];
    ensign_desc_t d;
    ensign_error_t why;

    memset(&d, 0, sizeof d);
    snprintf(endpoint, sizeof endpoint, "%s:%u", host, (unsigned)n->port);
    d.endpoint = endpoint;
    d.tls.off = true;
    d.io = io;
    d.seed = 7;
    d.backoff_min_ms = d.backoff_max_ms = 1;
    assert_int_equal(ensign_create(&d, &n->c, &why), ENSIGN_OK);
}

static void listening(net_t *n, const char *address)
{
    memset(n, 0, sizeof *n);
    n->peer = -1;
    n->fd = bound(address, 0, &n->port);
    assert_int_equal(listen(n->fd, 4), 0);
}

static void done(net_t *n)
{
    ensign_destroy(n->c);
    if (n->peer >= 0) close(n->peer);
    close(n->fd);
}

/* Gives the client a reason to connect, and to do so again. */
static ensign_call_t call(net_t *n, bool wait_for_ready)
{
    ensign_call_desc_t d;
    ensign_call_t k;

    memset(&d, 0, sizeof d);
    d.method = "/test.Socket/Any";
    d.wait_for_ready = wait_for_ready;
    d.request = ensign_str("");
    d.unary = true;
    k = ensign_call_open(n->c, &d);
    assert_true(k.id != 0);
    return k;
}

static ensi_race_t *race(const net_t *n)
{
    return &n->c->sockets.link[ENSIGN_LINK_RPC];
}

/* The socket of the connection: the one that is up, else the first one that is there. */
static ensi_sock_t *sock(const net_t *n)
{
    static const ensi_sock_state_t order[] = { ENSI_SOCK_UP, ENSI_SOCK_CONNECTING, ENSI_SOCK_GONE };
    for (size_t i = 0; i < ENSI_COUNT(order); i++)
        if (ensi_race_first(race(n), order[i])) return ensi_race_first(race(n), order[i]);
    return &race(n)->sock[0];
}

/* One turn of a loop with poll; how many entries it had, and the last poll set. */
static int turn(net_t *n, ensign_poll_t set[ENSIGN_MAX_FDS])
{
    struct pollfd p[ENSIGN_MAX_FDS];
    int i, due, count = ensign_poll_set(n->c, set);

    for (i = 0; i < count; i++) {
        p[i].fd = set[i].want & ENSIGN_GONE ? -1 : (int)set[i].fd;
        p[i].events = ensi_sock_events(set[i].want);
        p[i].revents = 0;
    }
    due = ensign_timeout(n->c, ensign_now_ms() + n->ahead);
    assert_true(poll(p, (nfds_t)count, due < 0 || due > 50 ? 50 : due) >= 0);
    for (i = 0; i < count; i++) set[i].ready = ensi_sock_ready(p[i].revents);
    assert_int_equal(ensign_step(n->c, set, (size_t)count, ensign_now_ms() + n->ahead), ENSIGN_OK);
    return count;
}

/* Turns until a notice of this type comes; *error: its error. */
static void until(net_t *n, ensign_notice_type_t type, ensign_error_t *error)
{
    ensign_poll_t set[ENSIGN_MAX_FDS];

    for (int i = 0; i < TURNS; i++) {
        const ensign_notice_t *x;
        turn(n, set);
        while ((x = ensign_next(n->c)) != NULL) {
            if (x->type != type) continue;
            if (error && x->error) *error = *x->error;
            return;
        }
    }
    fail_msg("notice %d did not come", (int)type);
}

static void accepted(net_t *n)
{
    ensign_poll_t set[ENSIGN_MAX_FDS];
    uint8_t got[PREFACE];
    struct pollfd p = { n->fd, POLLIN, 0 };

    for (int i = 0; i < TURNS && poll(&p, 1, 0) == 0; i++) turn(n, set);
    n->peer = accept(n->fd, NULL, NULL);
    assert_true(n->peer >= 0);
    p.fd = n->peer;
    for (int i = 0; i < TURNS && poll(&p, 1, 0) == 0; i++) turn(n, set);
    assert_int_equal(recv(n->peer, got, PREFACE, MSG_WAITALL), PREFACE);
    assert_memory_equal(got, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", PREFACE);
    assert_int_equal(sock(n)->state, ENSI_SOCK_UP);
}

/* And the server speaks HTTP/2. */
static void welcomed(net_t *n)
{
    accepted(n);
    assert_int_equal(send(n->peer, settings, sizeof settings, 0), sizeof settings);
    until(n, ENSIGN_NOTICE_CONNECTED, NULL);
}

static void connected(net_t *n)
{
    call(n, false);
    welcomed(n);
    while (ensign_next(n->c)) continue;
}

/* A client whose server listens. */
static void start(net_t *n)
{
    listening(n, "127.0.0.1");
    client(n, "127.0.0.1", ENSIGN_IO_SOCKETS);
}

static void start_connected(net_t *n)
{
    start(n);
    connected(n);
}

/* Its server's port is bound, and nobody listens: it refuses. */
static void start_refused(net_t *n)
{
    memset(n, 0, sizeof *n);
    n->peer = -1;
    n->fd = bound("127.0.0.1", 0, &n->port);
    client(n, "127.0.0.1", ENSIGN_IO_SOCKETS);
}

static bool open_fd(intptr_t fd)
{
    return fcntl((int)fd, F_GETFD) != -1;
}

/* ---- the table */
static void only_the_tables_moves_are_made(void **state)
{
    static const ensi_sock_state_t to[4][5] = { /* by state and input; own state: no such move */
        { ENSI_SOCK_CONNECTING, ENSI_SOCK_NONE, ENSI_SOCK_NONE, ENSI_SOCK_NONE, ENSI_SOCK_NONE },
        { ENSI_SOCK_CONNECTING, ENSI_SOCK_UP, ENSI_SOCK_GONE, ENSI_SOCK_NONE, ENSI_SOCK_CONNECTING },
        { ENSI_SOCK_UP, ENSI_SOCK_UP, ENSI_SOCK_GONE, ENSI_SOCK_NONE, ENSI_SOCK_UP },
        { ENSI_SOCK_GONE, ENSI_SOCK_GONE, ENSI_SOCK_GONE, ENSI_SOCK_GONE, ENSI_SOCK_NONE },
    };

    (void)state;
    for (int from = 0; from < 4; from++) {
        for (int in = 0; in < 5; in++) {
            ensi_sock_state_t s = (ensi_sock_state_t)from;
            bool moved = ensi_sock_move(&s, (ensi_sock_in_t)in);
            assert_int_equal(s, to[from][in]);
            assert_int_equal(moved, (int)to[from][in] != from);
        }
    }
}

static void numeric_addresses_only(void **state)
{
    char longest[ENSI_SOCK_TEXT + 8];
    ensi_sock_addr_t a;

    (void)state;
    assert_int_equal(ensi_sock_addr(&a, "192.0.2.7", 443), sizeof a.v4);
    assert_int_equal(ntohl(a.v4.sin_addr.s_addr), 0xC0000207);
    assert_int_equal(ntohs(a.v4.sin_port), 443);
    assert_int_equal(ensi_sock_addr(&a, "2001:db8::1", 5356), sizeof a.v6);
    assert_int_equal(a.v6.sin6_addr.s6_addr[1], 1);
    assert_int_equal(ntohs(a.v6.sin6_port), 5356);
    assert_int_equal(a.v6.sin6_scope_id, 0);
    assert_int_equal(ensi_sock_addr(&a, "fe80::1%3", 1), sizeof a.v6);
    assert_int_equal(a.v6.sin6_scope_id, 3);
    assert_int_equal(ensi_sock_addr(&a, "localhost", 1), 0);
    assert_int_equal(ensi_sock_addr(&a, "[::1]", 1), 0);
    assert_int_equal(ensi_sock_addr(&a, "192.0.2", 1), 0);
    assert_int_equal(ensi_sock_addr(&a, "", 1), 0);
    memset(longest, '1', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(ensi_sock_addr(&a, longest, 1), 0);
}

/* Ours is the C library's text, with runs of zeros in all places; a scope stands behind it. */
static void an_address_as_text(void **state)
{
    char ours[ENSI_SOCK_TEXT], theirs[INET6_ADDRSTRLEN];
    ensi_sock_addr_t a, back;
    struct addrinfo from;

    (void)state;
    memset(&from, 0, sizeof from);
    from.ai_addr = &a.any;
    for (uint32_t zeros = 0; zeros < 256; zeros++) { /* a bit for each group */
        from.ai_addrlen = sizeof a.v6;
        memset(&a, 0, sizeof a);
        a.v6.sin6_family = AF_INET6;
        for (uint8_t i = 0; i < 16; i++)
            if (!(zeros >> i / 2 & 1)) a.v6.sin6_addr.s6_addr[i] = (uint8_t)(i % 3 ? 31 * i : 0);
        a.v6.sin6_addr.s6_addr[0] = 0xFE;
        assert_true(ensi_sock_text(&from, ours, sizeof ours));
        assert_non_null(inet_ntop(AF_INET6, &a.v6.sin6_addr, theirs, sizeof theirs));
        assert_string_equal(ours, theirs);
        a.v6.sin6_scope_id = zeros;
        assert_true(ensi_sock_text(&from, ours, sizeof ours));
        assert_int_equal(ensi_sock_addr(&back, ours, 0), sizeof back.v6);
        assert_memory_equal(&back.v6.sin6_addr, &a.v6.sin6_addr, sizeof a.v6.sin6_addr);
        assert_int_equal(back.v6.sin6_scope_id, zeros);
    }
    memset(&a.v6.sin6_addr, 0, sizeof a.v6.sin6_addr);
    a.v6.sin6_scope_id = 0;
    assert_true(ensi_sock_text(&from, ours, sizeof ours));
    assert_string_equal(ours, "::");
    a.v6.sin6_addr.s6_addr[15] = 1;
    assert_true(ensi_sock_text(&from, ours, sizeof ours));
    assert_string_equal(ours, "::1");
    a.v4.sin_family = AF_INET;
    a.v4.sin_addr.s_addr = htonl(0xC0000207);
    from.ai_addrlen = sizeof a.v4;
    assert_true(ensi_sock_text(&from, ours, sizeof ours));
    assert_string_equal(ours, "192.0.2.7");
}

/* ---- connect */
static void a_refusal_is_a_notice_with_the_errno(void **state)
{
    ensign_poll_t set[ENSIGN_MAX_FDS];
    ensign_error_t e = { 0, 0, "" };
    net_t n;

    (void)state;
    start_refused(&n);
    assert_int_equal(ensign_poll_set(n.c, set), 0);
    call(&n, true);
    until(&n, ENSIGN_NOTICE_DISCONNECTED, &e);
    assert_int_equal(e.code, ENSIGN_E_CONNECT);
    assert_int_equal(e.native, ECONNREFUSED);
    until(&n, ENSIGN_NOTICE_DISCONNECTED, &e); /* and it goes on trying */
    assert_int_equal(e.native, ECONNREFUSED);
    done(&n);
}

static void the_second_address_serves_when_the_first_refuses(void **state)
{
    static const char *const both[] = { "127.0.0.1", "127.0.0.2" };
    ensign_poll_t set[ENSIGN_MAX_FDS];
    ensign_link_t want;
    uint16_t port;
    net_t n;
    int refusing;

    (void)state;
    listening(&n, "127.0.0.2");
    refusing = bound("127.0.0.1", n.port, &port);
    client(&n, "any.example", ENSIGN_IO_SOCKETS_NO_DNS);
    call(&n, true);
    turn(&n, set);
    ensign_link(n.c, ENSIGN_LINK_RPC, &want);
    assert_int_equal(want.todo, ENSIGN_LINK_RESOLVE); /* the driver left it to us */
    assert_string_equal(want.host, "any.example");
    assert_int_equal(ensign_resolved(n.c, ENSIGN_LINK_RPC, want.attempt, both, 2, 0), ENSIGN_OK);
    welcomed(&n);
    close(n.peer);
    n.peer = -1;
    until(&n, ENSIGN_NOTICE_DISCONNECTED, NULL);
    call(&n, true);
    want.todo = ENSIGN_LINK_IDLE;
    for (int i = 0; i < TURNS && want.todo != ENSIGN_LINK_RESOLVE; i++) {
        turn(&n, set);
        ensign_link(n.c, ENSIGN_LINK_RPC, &want);
    }
    assert_int_equal(ensign_resolved(n.c, ENSIGN_LINK_RPC, want.attempt, both, 2, 0), ENSIGN_OK);
    ensign_link(n.c, ENSIGN_LINK_RPC, &want);
    assert_int_equal(want.todo, ENSIGN_LINK_DIAL);
    assert_int_equal(want.address_count, 2);
    assert_string_equal(want.addresses[0], "127.0.0.2"); /* what worked is the first of the next dial, */
    assert_string_equal(want.addresses[1], "127.0.0.1");
    accepted(&n);
    assert_int_equal(race(&n)->tried, 1); /* and the driver begins with it */
    close(refusing);
    done(&n);
}

/* ---- the resolver: a machine with many addresses, all of them loopback's */
enum { V6 = 12 };
static struct addrinfo found[V6 + 1];
static struct sockaddr_in6 v6[V6];
static struct sockaddr_in v4;
static int found_rc;
static struct addrinfo odd[40]; /* the first is of no family that has numbers; the others are the same */
static size_t odd_count;
static const struct addrinfo *given;

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **all)
{
    assert_string_equal(host, "many.example");
    assert_null(service);
    assert_int_equal(hints->ai_socktype, SOCK_STREAM);
    if (found_rc != 0) return found_rc;
    if (odd_count > 0) {
        static struct sockaddr_in loopback;
        static struct sockaddr nothing;
        memset(odd, 0, sizeof odd);
        nothing.sa_family = AF_UNSPEC;
        loopback.sin_family = AF_INET;
        loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        for (size_t i = 0; i < odd_count; i++) {
            odd[i].ai_addr = i == 0 ? &nothing : (struct sockaddr *)&loopback;
            odd[i].ai_addrlen = i == 0 ? sizeof nothing : sizeof loopback;
            odd[i].ai_next = i + 1 < odd_count ? &odd[i + 1] : NULL;
        }
        given = *all = odd;
        return 0;
    }
    memset(found, 0, sizeof found);
    for (int i = 0; i < V6; i++) { /* the first of them: IPv4's by IPv6, where nobody listens */
        char text[40];
        memset(&v6[i], 0, sizeof v6[i]);
        snprintf(text, sizeof text, "::ffff:127.0.1.%d", i + 1);
        v6[i].sin6_family = AF_INET6;
        assert_int_equal(inet_pton(AF_INET6, text, &v6[i].sin6_addr), 1);
        found[i].ai_addr = (struct sockaddr *)&v6[i];
        found[i].ai_addrlen = sizeof v6[i];
        found[i].ai_next = &found[i + 1];
    }
    memset(&v4, 0, sizeof v4);
    v4.sin_family = AF_INET;
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    found[V6].ai_addr = (struct sockaddr *)&v4;
    found[V6].ai_addrlen = sizeof v4;
    given = *all = found;
    return 0;
}

void freeaddrinfo(struct addrinfo *all)
{
    assert_ptr_equal(all, given);
}

static void a_family_that_comes_late_is_dialled_too(void **state)
{
    const ensi_link_t *l;
    net_t n;

    (void)state;
    found_rc = 0;
    listening(&n, "127.0.0.1");
    client(&n, "many.example", ENSIGN_IO_SOCKETS);
    call(&n, true);
    welcomed(&n);
    l = &n.c->links[ENSIGN_LINK_RPC];
    assert_int_equal(l->address_count, ENSIGN_MAX_ADDRESSES);
    assert_string_equal(l->addresses[0], "::ffff:127.0.1.1");
    assert_string_equal(l->addresses[1], "127.0.0.1");
    assert_string_equal(l->addresses[2], "::ffff:127.0.1.2");
    assert_string_equal(l->target->end->good_address, "127.0.0.1");
    done(&n);
}

static void a_name_without_an_address_is_told_with_the_resolvers_code(void **state)
{
    ensign_error_t e = { 0, 0, "" };
    net_t n;

    (void)state;
    found_rc = EAI_NONAME;
    listening(&n, "127.0.0.1");
    client(&n, "many.example", ENSIGN_IO_SOCKETS);
    call(&n, true);
    until(&n, ENSIGN_NOTICE_DISCONNECTED, &e);
    assert_int_equal(e.code, ENSIGN_E_RESOLVE);
    assert_int_equal(e.native, EAI_NONAME);
    assert_non_null(strstr(e.text, "many.example"));
    done(&n);
}

/* An address that cannot be written as text is passed over; what is more than a link can keep, too. */
static void an_address_that_is_no_text_is_passed_over(void **state)
{
    ensign_error_t e = { 0, 0, "" };
    const ensi_link_t *l;
    net_t n;

    (void)state;
    found_rc = 0;
    odd_count = ENSI_COUNT(odd);
    listening(&n, "127.0.0.1");
    client(&n, "many.example", ENSIGN_IO_SOCKETS);
    call(&n, true);
    accepted(&n);
    l = &n.c->links[ENSIGN_LINK_RPC];
    assert_int_equal(l->address_count, ENSIGN_MAX_ADDRESSES);
    assert_string_equal(l->addresses[0], "127.0.0.1");
    done(&n);
    odd_count = 1; /* nothing but that */
    listening(&n, "127.0.0.1");
    client(&n, "many.example", ENSIGN_IO_SOCKETS);
    call(&n, true);
    until(&n, ENSIGN_NOTICE_DISCONNECTED, &e);
    assert_int_equal(e.code, ENSIGN_E_RESOLVE);
    assert_int_equal(e.native, EAI_NONAME);
    odd_count = 0;
    done(&n);
}

/* The program is the resolver of any.example: it gives these addresses to the dial that begins now. */
static void resolve(net_t *n, const char *const *addresses, size_t count)
{
    ensign_poll_t set[ENSIGN_MAX_FDS];
    ensign_link_t want;

    turn(n, set);
    ensign_link(n->c, ENSIGN_LINK_RPC, &want);
    assert_int_equal(want.todo, ENSIGN_LINK_RESOLVE);
    assert_int_equal(ensign_resolved(n->c, ENSIGN_LINK_RPC, want.attempt, addresses, count, 0), ENSIGN_OK);
}

/* A link-local address without its interface is refused before a packet is sent. */
static void an_address_refused_at_once_is_left(void **state)
{
    static const char *const both[] = { "fe80::1", "127.0.0.1" };
    net_t n;

    (void)state;
    listening(&n, "127.0.0.1");
    client(&n, "any.example", ENSIGN_IO_SOCKETS_NO_DNS);
    call(&n, true);
    resolve(&n, both, 2);
    accepted(&n);
    done(&n);
}

static void the_last_error_of_many_is_told(void **state)
{
    static const char *const both[] = { "not-an-address", "127.0.0.1" };
    ensign_poll_t set[ENSIGN_MAX_FDS];
    ensign_error_t e = { 0, 0, "" };
    ensign_link_t want;
    net_t n;

    (void)state;
    memset(&n, 0, sizeof n);
    n.peer = -1;
    n.fd = bound("127.0.0.1", 0, &n.port);
    client(&n, "any.example", ENSIGN_IO_SOCKETS_NO_DNS);
    call(&n, true);
    turn(&n, set);
    ensign_link(n.c, ENSIGN_LINK_RPC, &want);
    assert_int_equal(ensign_resolved(n.c, ENSIGN_LINK_RPC, want.attempt, both, 2, 0), ENSIGN_OK);
    until(&n, ENSIGN_NOTICE_DISCONNECTED, &e);
    assert_int_equal(e.code, ENSIGN_E_CONNECT);
    assert_int_equal(e.native, ECONNREFUSED);
    done(&n);
}

/* A listener whose queue is full answers no SYN: a connect to it hangs. */
static size_t fill(const char *address, uint16_t port, int fds[], size_t max)
{
    struct sockaddr_in a;
    size_t n = 0;

    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    assert_int_equal(inet_pton(AF_INET, address, &a.sin_addr), 1);
    while (n < max) {
        struct pollfd p = { socket(AF_INET, SOCK_STREAM, 0), POLLOUT, 0 };
        fcntl(p.fd, F_SETFL, O_NONBLOCK);
        fds[n++] = p.fd;
        if (connect(p.fd, (struct sockaddr *)&a, sizeof a) != 0 && poll(&p, 1, 0) == 0) return n;
    }
    fail_msg("the queue of the listener never filled");
    return n;
}

/* 127.0.0.1, .2 and so on: the last one listens, the others hang. */
enum { HANGING_MAX = 7, HELD = 16 };
typedef struct {
    net_t n;
    size_t hanging, filled[HANGING_MAX];
    int full[HANGING_MAX], held[HANGING_MAX][HELD];
    char text[HANGING_MAX + 1][20];
    const char *list[HANGING_MAX + 1];
} maze_t;

/* Up to the dial; returns its time. */
static uint64_t lost_in(maze_t *m, size_t hanging)
{
    ensign_poll_t set[ENSIGN_MAX_FDS];
    ensign_link_t want;
    uint16_t port;

    memset(m, 0, sizeof *m);
    m->hanging = hanging;
    for (size_t i = 0; i <= hanging; i++) {
        snprintf(m->text[i], sizeof m->text[i], "127.0.0.%u", (unsigned)i + 1);
        m->list[i] = m->text[i];
    }
    listening(&m->n, m->text[hanging]);
    for (size_t i = 0; i < hanging; i++) {
        m->full[i] = bound(m->text[i], m->n.port, &port);
        assert_int_equal(listen(m->full[i], 0), 0);
        m->filled[i] = fill(m->text[i], port, m->held[i], HELD);
    }
    client(&m->n, "any.example", ENSIGN_IO_SOCKETS_NO_DNS);
    call(&m->n, true);
    turn(&m->n, set);
    ensign_link(m->n.c, ENSIGN_LINK_RPC, &want);
    assert_int_equal(
        ensign_resolved(m->n.c, ENSIGN_LINK_RPC, want.attempt, m->list, hanging + 1, 0), ENSIGN_OK);
    return ensign_now_ms();
}

static void out_of(maze_t *m)
{
    for (size_t i = 0; i < m->hanging; i++) {
        for (size_t k = 0; k < m->filled[i]; k++) close(m->held[i][k]);
        close(m->full[i]);
    }
    done(&m->n);
}

/* A step at this time, counted from the dial, without the loop's hearing of anything. */
static void step_at(net_t *n, uint64_t begin, uint64_t ms)
{
    assert_int_equal(ensign_step(n->c, NULL, 0, begin + ms), ENSIGN_OK);
}

/* The first address hangs for 250 ms, so that the second is tried beside it: `set` has both. */
static uint64_t two_race(maze_t *m, size_t hanging, ensign_poll_t *set)
{
    uint64_t begin = lost_in(m, hanging);
    step_at(&m->n, begin, 0);
    step_at(&m->n, begin, 250);
    assert_int_equal(race(&m->n)->tried, 2);
    assert_int_equal(ensign_poll_set(m->n.c, set), 2);
    return begin;
}

static void an_address_that_hangs_does_not_hold_up_the_next(void **state)
{
    uint64_t begin;
    ensign_poll_t set[ENSIGN_MAX_FDS];
    maze_t m;

    (void)state;
    begin = lost_in(&m, 1);
    step_at(&m.n, begin, 0);
    assert_int_equal(race(&m.n)->tried, 1);
    assert_int_equal(ensign_poll_set(m.n.c, set), 1);
    assert_int_equal(ensign_timeout(m.n.c, begin + 100), 150); /* RFC 8305: 250 ms apart */
    step_at(&m.n, begin, 249);
    assert_int_equal(race(&m.n)->tried, 1);
    step_at(&m.n, begin, 250);
    assert_int_equal(race(&m.n)->tried, 2);
    assert_int_equal(ensign_poll_set(m.n.c, set), 2);
    m.n.ahead = 250;
    welcomed(&m.n);
    assert_string_equal(m.n.c->rpc_target.end->good_address, "127.0.0.2");
    assert_int_equal(race(&m.n)->sock[0].state, ENSI_SOCK_NONE); /* that hung: listed as GONE, then closed */
    out_of(&m);
}

static void a_loser_that_a_loop_knows_is_listed_with_gone(void **state)
{
    uint64_t begin;
    ensign_poll_t first, set[ENSIGN_MAX_FDS];
    struct pollfd p;
    maze_t m;

    (void)state;
    begin = two_race(&m, 1, set);
    first = set[0];
    p.fd = (int)set[1].fd;
    p.events = POLLOUT;
    assert_int_equal(poll(&p, 1, 5000), 1);
    set[1].ready = ENSIGN_WRITE;
    assert_int_equal(ensign_step(m.n.c, set, 2, begin + 251), ENSIGN_OK);
    assert_int_equal(race(&m.n)->sock[1].state, ENSI_SOCK_UP);
    assert_int_equal(ensign_poll_set(m.n.c, set), 2);
    assert_int_equal(set[0].want, ENSIGN_GONE);
    assert_int_equal(set[0].serial, first.serial);
    assert_true(open_fd(first.fd));
    assert_int_equal(ensign_poll_set(m.n.c, set), 1);
    assert_false(open_fd(first.fd));
    out_of(&m);
}

/* Of eight addresses seven swallow SYNs: three sockets at most, and the last one has its turn well before the
 * end of connect_timeout_ms, though nobody ever fails. */
static void three_race_at_most_and_none_keeps_its_place_for_ever(void **state)
{
    enum { SHARE = 20000 / 8 };
    static const uint64_t starts[] = { 0, 250, 500, SHARE, SHARE + 250, SHARE + 500, 2 * SHARE, 2 * SHARE + 250 };
    uint64_t begin;
    ensign_poll_t set[ENSIGN_MAX_FDS];
    maze_t m;
    ensi_race_t *r;

    (void)state;
    begin = lost_in(&m, 7);
    r = race(&m.n);
    for (size_t i = 0; i < ENSI_COUNT(starts); i++) {
        if (i > 0) step_at(&m.n, begin, starts[i] - 1);
        assert_int_equal(r->tried, i);
        step_at(&m.n, begin, starts[i]);
        if (i >= ENSI_SOCK_RACERS) {
            assert_int_equal(r->tried, i); /* the oldest is dropped, and its place is not free yet */
            assert_int_equal(ensign_timeout(m.n.c, begin + starts[i]), 0);
            assert_int_equal(ensign_poll_set(m.n.c, set), ENSI_SOCK_RACERS);
            assert_int_equal(set[i % ENSI_SOCK_RACERS].want, ENSIGN_GONE);
            step_at(&m.n, begin, starts[i]);
        }
        assert_int_equal(r->tried, i + 1);
        assert_true(ensign_poll_set(m.n.c, set) <= ENSI_SOCK_RACERS);
    }
    m.n.ahead = starts[7];
    welcomed(&m.n);
    assert_string_equal(m.n.c->rpc_target.end->good_address, "127.0.0.8");
    out_of(&m);
}

/* With another one under way: the next address does not wait for its 250 ms. */
static void a_failure_starts_the_next_one_at_once(void **state)
{
    uint64_t begin;
    ensign_poll_t set[ENSIGN_MAX_FDS];
    maze_t m;

    (void)state;
    begin = two_race(&m, 2, set);
    assert_int_equal(shutdown((int)set[0].fd, SHUT_RDWR), 0); /* a connect that is under way fails by it */
    set[0].ready = ENSIGN_WRITE | ENSIGN_HUP;
    assert_int_equal(ensign_step(m.n.c, set, 2, begin + 251), ENSIGN_OK);
    assert_int_equal(race(&m.n)->native, ECONNRESET);
    assert_int_equal(race(&m.n)->tried, 3);
    m.n.ahead = 251;
    welcomed(&m.n);
    assert_string_equal(m.n.c->rpc_target.end->good_address, "127.0.0.3");
    out_of(&m);
}

/* A refusal comes at once or with the next poll. */
static void refusals_take_no_time(void **state)
{
    static const char *const list[] = { "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5" };
    ensign_poll_t set[ENSIGN_MAX_FDS];
    ensign_link_t want;
    uint64_t begin;
    net_t n;

    (void)state;
    listening(&n, "127.0.0.5"); /* nobody listens at the others */
    client(&n, "any.example", ENSIGN_IO_SOCKETS_NO_DNS);
    call(&n, true);
    turn(&n, set);
    ensign_link(n.c, ENSIGN_LINK_RPC, &want);
    begin = ensign_now_ms();
    assert_int_equal(ensign_resolved(n.c, ENSIGN_LINK_RPC, want.attempt, list, 5, 0), ENSIGN_OK);
    for (int i = 0; i < TURNS && sock(&n)->state != ENSI_SOCK_UP; i++) {
        int count = ensign_poll_set(n.c, set);
        for (int k = 0; k < count; k++) /* the time stands */
            set[k].ready = set[k].want & ENSIGN_GONE ? 0 : ENSIGN_WRITE;
        assert_int_equal(ensign_step(n.c, set, (size_t)count, begin), ENSIGN_OK);
    }
    assert_int_equal(sock(&n)->state, ENSI_SOCK_UP);
    welcomed(&n);
    assert_string_equal(n.c->rpc_target.end->good_address, "127.0.0.5");
    done(&n);
}

/* A loop that says "writable" too early does no harm: the connect goes on. */
static void a_false_alarm_while_connecting(void **state)
{
    ensign_poll_t set[ENSIGN_MAX_FDS], again[ENSIGN_MAX_FDS];
    int fds[16];
    size_t filled;
    net_t n;

    (void)state;
    listening(&n, "127.0.0.1");
    close(n.fd);
    n.fd = bound("127.0.0.1", n.port, &n.port);
    assert_int_equal(listen(n.fd, 0), 0);
    filled = fill("127.0.0.1", n.port, fds, 16);
    client(&n, "127.0.0.1", ENSIGN_IO_SOCKETS);
    call(&n, true);
    assert_int_equal(ensign_step(n.c, NULL, 0, ensign_now_ms()), ENSIGN_OK);
    assert_int_equal(ensign_poll_set(n.c, set), 1);
    assert_int_equal(set[0].want, ENSIGN_WRITE);
    for (int i = 0; i < 3; i++) {
        set[0].ready = ENSIGN_WRITE;
        assert_int_equal(ensign_step(n.c, set, 1, ensign_now_ms()), ENSIGN_OK);
        assert_int_equal(ensign_poll_set(n.c, again), 1);
        assert_int_equal(again[0].serial, set[0].serial);
        assert_int_equal(again[0].want, ENSIGN_WRITE);
    }
    assert_null(ensign_next(n.c));
    for (size_t i = 0; i < filled; i++) close(fds[i]);
    done(&n);
}

static void a_serial_is_never_zero(void **state)
{
    ensign_poll_t set[ENSIGN_MAX_FDS];
    net_t n;

    (void)state;
    start(&n);
    n.c->sockets.last_serial = UINT32_MAX; /* after four thousand million sockets */
    connected(&n);
    assert_int_equal(ensign_poll_set(n.c, set), 1);
    assert_int_equal(set[0].serial, 1);
    done(&n);
}

static void a_socket_is_made_as_it_should_be(void **state)
{
    int on = 0, fd;
    socklen_t len = sizeof on;
    net_t n;

    (void)state;
    start_connected(&n);
    fd = (int)sock(&n)->fd;
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
    assert_true(on != 0);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, &len), 0);
    assert_true(on != 0);
    done(&n);
    assert_false(open_fd(fd)); /* destroy closed it */
}

/* ---- the ends of a connection */
static void gone_is_listed_once_still_open_then_closed(void **state)
{
    ensign_poll_t before[ENSIGN_MAX_FDS], set[ENSIGN_MAX_FDS];
    ensign_error_t e = { 0, 1, "" };
    net_t n;

    (void)state;
    start_connected(&n);
    assert_int_equal(ensign_poll_set(n.c, before), 1);
    assert_true(before[0].want & ENSIGN_READ);
    assert_true(before[0].serial != 0);
    close(n.fd); /* a new dial is refused: the old socket stands alone */
    n.fd = -1;
    shutdown(n.peer, SHUT_WR);
    for (int i = 0; i < TURNS && sock(&n)->state == ENSI_SOCK_UP; i++) turn(&n, set);
    assert_int_equal(sock(&n)->state, ENSI_SOCK_GONE);
    assert_true(open_fd(before[0].fd));
    assert_int_equal(ensign_poll_set(n.c, set), 1);
    assert_int_equal(set[0].want, ENSIGN_GONE);
    assert_int_equal(set[0].fd, before[0].fd);
    assert_int_equal(set[0].serial, before[0].serial);
    assert_true(open_fd(before[0].fd));
    assert_true(race(&n)->used); /* it is still to be closed */
    assert_int_equal(ensign_poll_set(n.c, set), 0);
    assert_false(open_fd(before[0].fd));
    assert_false(race(&n)->used);
    while (true) {
        const ensign_notice_t *x = ensign_next(n.c);
        assert_non_null(x);
        if (x->type != ENSIGN_NOTICE_DISCONNECTED) continue;
        e = *x->error;
        break;
    }
    assert_int_equal(e.code, ENSIGN_E_CLOSED);
    assert_int_equal(e.native, 0); /* in good order */
    done(&n);
}

static void a_reset_gives_its_errno(void **state)
{
    struct linger hard = { 1, 0 };
    ensign_error_t e = { 0, 0, "" };
    net_t n;

    (void)state;
    start_connected(&n);
    assert_int_equal(setsockopt(n.peer, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
    close(n.peer);
    n.peer = -1;
    until(&n, ENSIGN_NOTICE_DISCONNECTED, &e);
    assert_int_equal(e.code, ENSIGN_E_CLOSED);
    assert_int_equal(e.native, ECONNRESET);
    done(&n);
}

/* TLS owes an answer that tx has no room for, and the peer sends but does not read: nothing can be taken in.
 * No loop may spin on that, and a write that fails then must not wait for the peer's last words. */
static void a_full_rx_neither_spins_nor_hangs(void **state)
{
    struct linger hard = { 1, 0 };
    ensign_poll_t set[ENSIGN_MAX_FDS];
    ensi_link_t *l;
    ensi_sock_t *s;
    net_t n;

    (void)state;
    start_connected(&n);
    for (int i = 0; i < 4; i++) turn(&n, set);
    s = sock(&n);
    l = &n.c->links[ENSIGN_LINK_RPC];
    memset(l->rx.ptr, 0, l->rx.cap);
    l->rx.end = l->rx.cap;
    memset(l->tx.ptr, 0, l->tx.cap);
    l->tx.start = 0;
    l->tx.end = l->tx.cap;
    s->can_write = false;
    assert_int_equal(ensign_poll_set(n.c, set), 1);
    assert_int_equal(set[0].want, ENSIGN_READ | ENSIGN_WRITE);
    set[0].ready = ENSIGN_READ;
    assert_int_equal(ensign_step(n.c, set, 1, ensign_now_ms()), ENSIGN_OK);
    assert_true(s->can_read);
    assert_int_not_equal(ensign_timeout(n.c, ensign_now_ms()), 0);
    assert_int_equal(ensign_poll_set(n.c, set), 1);
    assert_int_equal(set[0].want, ENSIGN_WRITE);
    assert_int_equal(setsockopt(n.peer, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
    close(n.peer);
    n.peer = -1;
    until(&n, ENSIGN_NOTICE_DISCONNECTED, NULL);
    done(&n);
}

static void a_new_socket_has_a_new_serial_and_waits_for_gone(void **state)
{
    ensign_poll_t set[ENSIGN_MAX_FDS];
    uint32_t first;
    bool gone = false;
    net_t n;

    (void)state;
    start_connected(&n);
    first = sock(&n)->serial;
    close(n.peer);
    until(&n, ENSIGN_NOTICE_DISCONNECTED, NULL);
    call(&n, true);
    for (int i = 0; i < TURNS && !(sock(&n)->state == ENSI_SOCK_UP && gone); i++) {
        int count = turn(&n, set);
        assert_true(count <= 1);
        if (count == 0) continue;
        if (set[0].want & ENSIGN_GONE) {
            assert_int_equal(set[0].serial, first);
            gone = true;
        } else if (!gone) {
            assert_int_equal(set[0].serial, first); /* none beside it before a loop has seen it go */
        } else {
            assert_true(set[0].serial != first);
        }
    }
    assert_true(gone);
    accepted(&n);
    assert_true(sock(&n)->serial != first);
    done(&n);
}

/* Sockets that are GONE keep their places until a poll set has listed them: so it never overflows. */
static void no_dial_before_the_loop_has_seen_gone(void **state)
{
    uint64_t begin;
    ensign_poll_t set[ENSIGN_MAX_FDS];
    ensign_link_t want;
    maze_t m;

    (void)state;
    begin = lost_in(&m, 3);
    for (uint64_t i = 0; i < 3; i++) step_at(&m.n, begin, i * 250);
    assert_int_equal(ensign_poll_set(m.n.c, set), 3);
    step_at(&m.n, begin, 21000); /* past connect_timeout_ms: all three go */
    for (uint64_t i = 0; i < 100; i += 10) step_at(&m.n, begin, 21000 + i);
    ensign_link(m.n.c, ENSIGN_LINK_RPC, &want);
    assert_int_equal(want.todo, ENSIGN_LINK_RESOLVE);
    assert_int_equal(ensign_resolved(m.n.c, ENSIGN_LINK_RPC, want.attempt, m.list, 4, 0), ENSIGN_OK);
    step_at(&m.n, begin, 21100);
    assert_int_equal(race(&m.n)->tried, 0);
    assert_int_equal(ensign_timeout(m.n.c, begin + 21100), 0);
    assert_int_equal(ensign_poll_set(m.n.c, set), 3);
    for (int i = 0; i < 3; i++) assert_int_equal(set[i].want, ENSIGN_GONE);
    step_at(&m.n, begin, 21100);
    assert_int_equal(race(&m.n)->tried, 1);
    for (int i = 0; i < 3; i++) assert_true(open_fd(set[i].fd)); /* until the next poll set */
    assert_int_equal(ensign_poll_set(m.n.c, set), 1);
    assert_int_equal(set[0].serial, sock(&m.n)->serial);
    out_of(&m);
}

/* The program may have its own way of telling a link what became of it. */
static void a_link_that_the_program_serves_is_left_to_it(void **state)
{
    static const char *const one[] = { "127.0.0.1" };
    ensign_poll_t set[ENSIGN_MAX_FDS];
    ensign_error_t e = { 0, 0, "" };
    ensign_link_t want;
    size_t len;
    net_t n;

    (void)state;
    listening(&n, "127.0.0.1");
    client(&n, "any.example", ENSIGN_IO_SOCKETS_NO_DNS);
    call(&n, true);
    resolve(&n, one, 1);
    ensign_link(n.c, ENSIGN_LINK_RPC, &want);
    assert_int_equal(want.todo, ENSIGN_LINK_DIAL);
    assert_int_equal(ensign_link_up(n.c, ENSIGN_LINK_RPC, want.attempt, 0, ensign_now_ms()), ENSIGN_OK);
    for (int i = 0; i < 3; i++) assert_int_equal(turn(&n, set), 0);
    ensign_link(n.c, ENSIGN_LINK_RPC, &want);
    assert_int_equal(want.todo, ENSIGN_LINK_RUN);
    assert_non_null(ensign_tx_buf(n.c, ENSIGN_LINK_RPC, &len)); /* nobody has sent it */
    assert_true(len >= PREFACE);
    assert_int_equal(ensign_link_down(n.c, ENSIGN_LINK_RPC, want.attempt, EPIPE, ensign_now_ms()), ENSIGN_OK);
    until(&n, ENSIGN_NOTICE_DISCONNECTED, &e);
    assert_int_equal(e.native, EPIPE);
    done(&n);
}

/* It says that the link is down, and by the next step the link wants another connection already. */
static void a_link_that_went_on_gets_another_socket(void **state)
{
    ensign_poll_t set[ENSIGN_MAX_FDS];
    ensign_link_t want;
    uint32_t attempt, serial;
    uint8_t byte;
    net_t n;

    (void)state;
    start_connected(&n);
    assert_int_equal(ensign_poll_set(n.c, set), 1);
    serial = set[0].serial;
    ensign_link(n.c, ENSIGN_LINK_RPC, &want);
    attempt = want.attempt;
    call(&n, true);
    assert_int_equal(ensign_link_down(n.c, ENSIGN_LINK_RPC, attempt, EPIPE, ensign_now_ms()), ENSIGN_OK);
    for (int i = 0; i < 20 && want.attempt == attempt; i++) {
        assert_int_equal(ensign_tick(n.c, ensign_now_ms() + (n.ahead += 10)), ENSIGN_OK);
        ensign_link(n.c, ENSIGN_LINK_RPC, &want);
    }
    assert_int_not_equal(want.attempt, attempt);
    assert_int_equal(want.todo, ENSIGN_LINK_DIAL);
    assert_int_equal(ensign_step(n.c, NULL, 0, ensign_now_ms() + n.ahead), ENSIGN_OK);
    assert_int_equal(ensign_poll_set(n.c, set), 2); /* the new one goes beside it */
    for (int i = 0; i < 2; i++) assert_int_equal(set[i].serial == serial, set[i].want == ENSIGN_GONE);
    turn(&n, set);
    while (recv(n.peer, &byte, 1, 0) > 0) continue; /* the old connection is closed */
    close(n.peer);
    accepted(&n);
    assert_int_equal(ensign_poll_set(n.c, set), 1);
    assert_int_not_equal(set[0].serial, serial);
    done(&n);
}

static void strange_serials_are_passed_over(void **state)
{
    ensign_poll_t set[ENSIGN_MAX_FDS];
    const int all = ENSIGN_READ | ENSIGN_WRITE | ENSIGN_HUP;
    net_t n;

    (void)state;
    start_connected(&n);
    assert_int_equal(ensign_poll_set(n.c, set), 1);
    set[0].ready = all;
    set[0].serial += 1;
    assert_int_equal(ensign_step(n.c, set, 1, ensign_now_ms()), ENSIGN_OK);
    assert_int_equal(sock(&n)->state, ENSI_SOCK_UP);
    set[0].serial -= 1; /* and a false alarm does no harm */
    assert_int_equal(ensign_step(n.c, set, 1, ensign_now_ms()), ENSIGN_OK);
    assert_int_equal(sock(&n)->state, ENSI_SOCK_UP);
    assert_false(sock(&n)->can_read);
    assert_int_equal(ensign_step(n.c, NULL, 1, ensign_now_ms()), ENSIGN_E_ARGUMENT);
    done(&n);
}

/* ---- bytes */
static void a_spent_budget_makes_the_next_step_due(void **state)
{
    static const uint8_t unknown[9] = { 0, 0x1F, 0xF7, 0xFA, 0, 0, 0, 0, 0 }; /* 8,183 bytes, to be ignored */
    static uint8_t wire[4 * 8192], there[sizeof wire];
    ensign_poll_t set[ENSIGN_MAX_FDS];
    ensign_stats_t before, after;
    struct pollfd p;
    net_t n;

    (void)state;
    start_connected(&n);
    for (int i = 0; i < 4; i++) memcpy(wire + i * 8192, unknown, sizeof unknown);
    assert_int_equal(ensign_stats(n.c, ENSIGN_CLIENT, &before), ENSIGN_OK);
    assert_int_equal(send(n.peer, wire, sizeof wire, 0), sizeof wire);
    p.fd = (int)sock(&n)->fd;
    p.events = POLLIN;
    do { /* until all of it is here */
        assert_int_equal(poll(&p, 1, 5000), 1);
    } while (recv(p.fd, there, sizeof there, MSG_PEEK) < (ssize_t)sizeof there);
    assert_int_equal(ensign_poll_set(n.c, set), 1);
    set[0].ready = ENSIGN_READ; /* told once: as an edge-triggered loop does */
    assert_int_equal(ensign_step(n.c, set, 1, ensign_now_ms()), ENSIGN_OK);
    assert_int_equal(ensign_stats(n.c, ENSIGN_CLIENT, &after), ENSIGN_OK);
    assert_int_equal(after.bytes_in - before.bytes_in, ENSI_SOCK_BUDGET);
    for (size_t i = 0; i < sizeof wire / ENSI_SOCK_BUDGET; i++) {
        assert_int_equal(ensign_timeout(n.c, ensign_now_ms()), 0);
        assert_int_equal(ensign_step(n.c, NULL, 0, ensign_now_ms()), ENSIGN_OK);
    }
    assert_int_equal(ensign_stats(n.c, ENSIGN_CLIENT, &after), ENSIGN_OK);
    assert_int_equal(after.bytes_in - before.bytes_in, sizeof wire);
    assert_false(sock(&n)->can_read);
    assert_true(ensign_timeout(n.c, ensign_now_ms()) != 0);
    done(&n);
}

/* ---- how often the OS is asked for bytes */
enum { HUNDRED = 100 };
static const uint8_t unknown_frame[9] = { 0, 0, HUNDRED - 9, 0xFA, 0, 0, 0, 0, 0 }; /* to be ignored */

/* All is quiet: what comes next is the test's. */
static void quiet(net_t *n)
{
    ensign_poll_t set[ENSIGN_MAX_FDS];
    for (int i = 0; i < TURNS && ensign_timeout(n->c, ensign_now_ms()) == 0; i++) {
        while (ensign_next(n->c)) continue;
        turn(n, set);
    }
    assert_int_not_equal(ensign_timeout(n->c, ensign_now_ms()), 0);
    reads = 0;
}

/* The server sends `more` bytes and a hundred. All of it is here, the end too where it closes. */
static void sends(net_t *n, size_t more, bool closes)
{
    static uint8_t wire[8192], there[sizeof wire];
    struct pollfd p;
    const size_t all = more + HUNDRED;

    assert_true(all <= sizeof wire);
    memset(wire, 0, sizeof wire);
    for (size_t at = 0; at < all; at += HUNDRED) memcpy(wire + at, unknown_frame, sizeof unknown_frame);
    assert_int_equal(more % HUNDRED, 0);
    assert_int_equal(send(n->peer, wire, all, 0), all);
    p.fd = (int)sock(n)->fd;
    p.events = POLLIN;
    do assert_int_equal(poll(&p, 1, 5000), 1);
    while (recv(p.fd, there, sizeof there, MSG_PEEK) < (ssize_t)all);
    if (!closes) return;
    assert_int_equal(shutdown(n->peer, SHUT_WR), 0);
#ifdef POLLRDHUP
    p.events = POLLRDHUP;
    assert_int_equal(poll(&p, 1, 5000), 1);
#endif
}

static uint64_t bytes_in(const net_t *n)
{
    ensign_stats_t s;
    assert_int_equal(ensign_stats(n->c, ENSIGN_CLIENT, &s), ENSIGN_OK);
    return s.bytes_in;
}

/* poll tells whether there is more: nobody has to read until it would block. */
static void a_wait_reads_once_what_came_at_once(void **state)
{
    uint64_t before;
    net_t n;

    (void)state;
    start_connected(&n);
    quiet(&n);
    for (unsigned i = 1; i <= 3; i++) {
        before = bytes_in(&n);
        sends(&n, 0, false);
        assert_int_equal(ensign_wait(n.c, NULL, 0, 0), ENSIGN_TIMEOUT);
        assert_int_equal(bytes_in(&n) - before, HUNDRED);
        assert_int_equal(reads, i);
        assert_int_equal(ensign_wait(n.c, NULL, 0, 0), ENSIGN_TIMEOUT);
        assert_int_equal(reads, i);
    }
    before = bytes_in(&n);
    sends(&n, ENSI_SOCK_BUDGET + 4, false); /* more than one read takes */
    while (bytes_in(&n) - before < ENSI_SOCK_BUDGET + 4 + HUNDRED)
        assert_int_equal(ensign_wait(n.c, NULL, 0, 0), ENSIGN_TIMEOUT);
    assert_int_equal(reads, 3 + 2);
    done(&n);
}

static void a_wait_sees_the_end_behind_the_bytes(void **state)
{
    const ensign_notice_t *x;
    net_t n;

    (void)state;
    start_connected(&n);
    quiet(&n);
    sends(&n, 0, true);
    assert_int_equal(ensign_await(n.c, ENSIGN_CLIENT, 5000, &x), ENSIGN_OK);
    assert_int_equal(x->type, ENSIGN_NOTICE_DISCONNECTED);
    assert_int_equal(reads, 2);
    done(&n);
}

#ifdef __linux__
static int edges(const net_t *n)
{
    struct epoll_event e;
    int fd = epoll_create1(EPOLL_CLOEXEC);

    assert_true(fd >= 0);
    memset(&e, 0, sizeof e);
    e.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    assert_int_equal(epoll_ctl(fd, EPOLL_CTL_ADD, (int)sock(n)->fd, &e), 0);
    while (epoll_wait(fd, &e, 1, 0) > 0) continue;
    return fd;
}

/* Waits for an edge, and hands it over. */
static void step_by_edge(net_t *n, int fd)
{
    ensign_poll_t set[ENSIGN_MAX_FDS];
    struct epoll_event e;

    assert_int_equal(ensign_poll_set(n->c, set), 1);
    assert_int_equal(epoll_wait(fd, &e, 1, 5000), 1);
    set[0].ready = (e.events & EPOLLIN ? ENSIGN_READ : 0) | (e.events & EPOLLOUT ? ENSIGN_WRITE : 0);
    assert_int_equal(ensign_step(n->c, set, 1, ensign_now_ms()), ENSIGN_OK);
    assert_int_equal(epoll_wait(fd, &e, 1, 0), 0); /* that was all that is told */
}

/* The bytes and the end are one edge. */
static void a_step_reads_to_the_end(void **state)
{
    const ensign_notice_t *x;
    net_t n;
    int fd;

    (void)state;
    start_connected(&n);
    quiet(&n);
    fd = edges(&n);
    sends(&n, 0, true);
    step_by_edge(&n, fd);
    assert_int_equal(reads, 2);
    x = ensign_next(n.c);
    assert_non_null(x);
    assert_int_equal(x->type, ENSIGN_NOTICE_DISCONNECTED);
    close(fd);
    done(&n);
}

/* A wait between the steps of such a loop may leave the end unread: then a step is due. */
static void a_step_makes_up_for_a_wait(void **state)
{
    const ensign_notice_t *x;
    net_t n;
    int fd;

    (void)state;
    start_connected(&n);
    quiet(&n);
    fd = edges(&n);
    sends(&n, ENSI_SOCK_BUDGET + 4, true);
    step_by_edge(&n, fd);
    assert_int_equal(reads, 1); /* the budget is spent */
    assert_int_equal(ensign_timeout(n.c, ensign_now_ms()), 0);
    assert_int_equal(ensign_wait(n.c, NULL, 0, 0), ENSIGN_TIMEOUT);
    assert_int_equal(reads, 2); /* a short one */
    assert_int_equal(ensign_timeout(n.c, ensign_now_ms()), 0);
    assert_int_equal(ensign_step(n.c, NULL, 0, ensign_now_ms()), ENSIGN_OK);
    x = ensign_next(n.c);
    assert_non_null(x);
    assert_int_equal(x->type, ENSIGN_NOTICE_DISCONNECTED);
    close(fd);
    done(&n);
}
#endif

/* rx has no room while TLS must send first and tx is full. */
static void a_full_receive_buffer_neither_spins_nor_hangs(void **state)
{
    ensign_poll_t set[ENSIGN_MAX_FDS];
    struct linger reset = { 1, 0 };
    struct pollfd p;
    ensi_link_t *l;
    net_t n;

    (void)state;
    start_connected(&n);
    while (ensign_timeout(n.c, ensign_now_ms()) == 0) {
        while (ensign_next(n.c)) continue;
        turn(&n, set);
    }
    l = &n.c->links[ENSIGN_LINK_RPC];
    l->rx.end = l->rx.cap; /* as if TLS took nothing of it */
    assert_int_equal(send(n.peer, settings, sizeof settings, 0), sizeof settings);
    assert_int_equal(ensign_poll_set(n.c, set), 1);
    p.fd = (int)set[0].fd;
    p.events = POLLIN;
    assert_int_equal(poll(&p, 1, 5000), 1);
    set[0].ready = ENSIGN_READ;
    assert_int_equal(ensign_step(n.c, set, 1, ensign_now_ms()), ENSIGN_OK);
    assert_true(sock(&n)->can_read);
    assert_true(ensign_timeout(n.c, ensign_now_ms()) != 0);
    assert_int_equal(ensign_poll_set(n.c, set), 1);
    assert_int_equal(set[0].want & ENSIGN_READ, 0);
    memset(l->tx.ptr + l->tx.start, 0, 9);
    l->tx.end = l->tx.start + 9; /* and now there is something to send, and nobody to take it */
    assert_int_equal(setsockopt(n.peer, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    close(n.peer);
    n.peer = -1;
    until(&n, ENSIGN_NOTICE_DISCONNECTED, NULL);
    done(&n);
}

/* Then the kernel takes no more: no step is due, the loop is asked for "writable", and nothing is lost. */
static void a_peer_that_reads_slowly_gets_all_of_it(void **state)
{
    enum { BYTES = 1000000, SMALL = 4096 };
    static const uint8_t windows[] = {
        0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0x7F, 0xFF, 0xFF, 0xFF, /* of streams */
        0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7F, 0xFF, 0, 0,             /* of all */
    };
    static uint8_t data[BYTES], got[65536];
    ensign_poll_t set[ENSIGN_MAX_FDS];
    ensign_call_desc_t d;
    ensign_stats_t stats;
    size_t sum = 0;
    int small = SMALL;
    net_t n;

    (void)state;
    listening(&n, "127.0.0.1");
    assert_int_equal(setsockopt(n.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    client(&n, "127.0.0.1", ENSIGN_IO_SOCKETS);
    connected(&n);
    assert_int_equal(ensign_poll_set(n.c, set), 1);
    assert_int_equal(setsockopt((int)set[0].fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    assert_int_equal(send(n.peer, windows, sizeof windows, 0), sizeof windows);
    memset(&d, 0, sizeof d);
    d.method = "/test.Socket/Any";
    d.request = ensi_slice(data, sizeof data);
    d.unary = true;
    assert_true(ensign_call_open(n.c, &d).id != 0);
    memset(&stats, 0, sizeof stats);
    for (uint64_t before = UINT64_MAX; stats.bytes_out != before;) { /* until both buffers are full */
        before = stats.bytes_out;
        turn(&n, set);
        assert_int_equal(ensign_stats(n.c, ENSIGN_CLIENT, &stats), ENSIGN_OK);
    }
    assert_int_equal(ensign_poll_set(n.c, set), 1);
    assert_int_equal(set[0].want, ENSIGN_READ | ENSIGN_WRITE);
    assert_int_not_equal(ensign_timeout(n.c, ensign_now_ms()), 0);
    for (int i = 0; i < 100 * TURNS && sum < BYTES; i++) {
        ssize_t k = recv(n.peer, got, sizeof got, MSG_DONTWAIT);
        if (k > 0) sum += (size_t)k;
        turn(&n, set);
    }
    assert_true(sum >= BYTES);
    assert_null(ensign_next(n.c));
    done(&n);
}

static void what_a_step_reads_it_answers_in_the_same_step(void **state)
{
    uint8_t got[4096];
    ensign_poll_t set[ENSIGN_MAX_FDS];
    struct pollfd p;
    net_t n;

    (void)state;
    start(&n);
    call(&n, true);
    accepted(&n);
    while (recv(n.peer, got, sizeof got, MSG_DONTWAIT) > 0) continue; /* the client's own SETTINGS */
    assert_int_equal(send(n.peer, settings, sizeof settings, 0), sizeof settings);
    p.fd = (int)sock(&n)->fd;
    p.events = POLLIN;
    assert_int_equal(poll(&p, 1, 5000), 1);
    assert_int_equal(ensign_poll_set(n.c, set), 1);
    set[0].ready = ENSIGN_READ;
    assert_int_equal(ensign_step(n.c, set, 1, ensign_now_ms()), ENSIGN_OK);
    assert_true(recv(n.peer, got, sizeof got, MSG_DONTWAIT) >= 9); /* the SETTINGS ack, at least */
    done(&n);
}

static void a_wrong_protocol_is_hung_up_on(void **state)
{
    static const char text[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    char got[4096];
    ensign_poll_t set[ENSIGN_MAX_FDS];
    net_t n;

    (void)state;
    start(&n);
    call(&n, true);
    accepted(&n);
    assert_int_equal(send(n.peer, text, sizeof text - 1, 0), sizeof text - 1);
    until(&n, ENSIGN_NOTICE_DISCONNECTED, NULL);
    turn(&n, set); /* lists GONE, */
    turn(&n, set); /* closes */
    while (recv(n.peer, got, sizeof got, 0) > 0) continue; /* ends: the client's side is closed */
    done(&n);
}

/* ---- wait, await */
static void extra_descriptors_end_a_wait(void **state)
{
    ensign_poll_t extra[60];
    int ends[2];
    net_t n;

    (void)state;
    start_connected(&n);
    memset(extra, 0, sizeof extra);
    assert_int_equal(pipe(ends), 0);
    extra[0].fd = ends[0];
    extra[0].want = ENSIGN_READ;
    extra[0].ready = ENSIGN_READ;
    assert_int_equal(ensign_wait(n.c, extra, 1, 0), ENSIGN_TIMEOUT);
    assert_int_equal(extra[0].ready, 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(ensign_wait(n.c, extra, 1, -1), ENSIGN_OK);
    assert_int_equal(extra[0].ready, ENSIGN_READ);
    close(ends[1]);
    assert_int_equal(ensign_wait(n.c, extra, 1, -1), ENSIGN_OK);
    assert_int_equal(extra[0].ready, ENSIGN_READ | ENSIGN_HUP);
    assert_int_equal(ensign_wait(n.c, extra, 60, 0), ENSIGN_E_ARGUMENT);
    assert_non_null(strstr(ensign_error(n.c)->text, "at most 48"));
    assert_int_equal(ensign_wait(n.c, extra, 49, 0), ENSIGN_E_ARGUMENT);
    assert_int_equal(ensign_wait(n.c, NULL, 1, 0), ENSIGN_E_ARGUMENT);
    close(ends[0]);
    done(&n);
}

static void a_wait_ends_with_a_notice(void **state)
{
    const ensign_notice_t *x;
    bool lost = false;
    net_t n;

    (void)state;
    start_connected(&n);
    close(n.peer);
    n.peer = -1;
    assert_int_equal(ensign_wait(n.c, NULL, 0, -1), ENSIGN_OK);
    while ((x = ensign_next(n.c)) != NULL) lost |= x->type == ENSIGN_NOTICE_DISCONNECTED;
    assert_true(lost);
    done(&n);
}

/* A client connects at its first step, handles or not: there is nothing to wait for only when it has closed,
   or when its connection was lost and no handle wants another. */
static void nothing_to_wait_for_is_said(void **state)
{
    const ensign_notice_t *x;
    net_t n;

    (void)state;
    start(&n);
    assert_int_equal(ensign_close(n.c, ENSIGN_CLIENT, 60000), ENSIGN_OK);
    assert_int_equal(ensign_wait(n.c, NULL, 0, -1), ENSIGN_OK);
    x = ensign_next(n.c);
    assert_non_null(x);
    assert_int_equal(x->type, ENSIGN_NOTICE_CLOSED);
    assert_int_equal(ensign_wait(n.c, NULL, 0, -1), ENSIGN_E_STATE);
    assert_non_null(strstr(ensign_error(n.c)->text, "CLOSED"));
    assert_int_equal(ensign_await(n.c, ENSIGN_CLIENT, -1, &x), ENSIGN_E_STATE);
    assert_int_equal(ensign_wait(n.c, NULL, 0, 1), ENSIGN_TIMEOUT);
    ensign_destroy(n.c);
    client(&n, "127.0.0.1", ENSIGN_IO_SOCKETS);
    accepted(&n);
    assert_int_equal(send(n.peer, settings, sizeof settings, 0), sizeof settings);
    until(&n, ENSIGN_NOTICE_CONNECTED, NULL);
    assert_int_equal(close(n.peer), 0);
    n.peer = -1;
    until(&n, ENSIGN_NOTICE_DISCONNECTED, NULL);
    assert_int_equal(ensign_wait(n.c, NULL, 0, -1), ENSIGN_E_STATE);
    ensign_destroy(n.c);
    client(&n, "127.0.0.1", ENSIGN_IO_CALLER);
    assert_int_equal(ensign_wait(n.c, NULL, 0, 1), ENSIGN_E_STATE);
    assert_non_null(strstr(ensign_error(n.c)->text, "ENSIGN_IO_CALLER"));
    done(&n);
}

static void await_gives_a_handles_own_notice(void **state)
{
    const ensign_notice_t *x;
    ensign_call_t k;
    net_t n;

    (void)state;
    start_refused(&n);
    k = call(&n, false);
    assert_int_equal(ensign_await(n.c, k.id, -1, &x), ENSIGN_OK);
    assert_int_equal(x->type, ENSIGN_NOTICE_REPLY);
    assert_true(x->last);
    assert_int_equal(x->as.reply.status, 14); /* UNAVAILABLE */
    assert_int_equal(ensign_await(n.c, k.id, 20, &x), ENSIGN_E_HANDLE); /* though its REPLY stands still */
    assert_true(ensign_pending(n.c, ENSIGN_CLIENT)); /* DISCONNECTED was left alone */
    assert_non_null(ensign_next(n.c));
    assert_int_equal(ensign_await(n.c, k.id, -1, &x), ENSIGN_E_HANDLE);
    assert_null(x);
    assert_int_equal(ensign_await(n.c, 0, -1, &x), ENSIGN_E_HANDLE);
    done(&n);
}

static void await_gives_up_in_time(void **state)
{
    const ensign_notice_t *x;
    ensign_call_t k;
    net_t n;

    (void)state;
    start_refused(&n);
    k = call(&n, true); /* waits for a server that never comes */
    assert_int_equal(ensign_await(n.c, ENSIGN_CLIENT, -1, &x), ENSIGN_OK);
    assert_int_equal(x->type, ENSIGN_NOTICE_DISCONNECTED);
    assert_int_equal(ensign_await(n.c, k.id, 20, &x), ENSIGN_TIMEOUT);
    assert_null(x);
    assert_int_equal(ensign_error(n.c)->code, ENSIGN_E_CONNECT); /* why nothing came */
    done(&n);
}

/* Nothing fails so far: what is awaited is named. */
static void await_tells_what_it_waits_for(void **state)
{
    const ensign_notice_t *x;
    ensign_call_t k;
    net_t n;

    (void)state;
    start(&n);
    k = call(&n, true);
    assert_int_equal(ensign_await(n.c, k.id, 5, &x), ENSIGN_TIMEOUT);
    assert_non_null(strstr(ensign_error(n.c)->text, "the time was up: waiting for a connection to 127.0.0.1:"));
    assert_int_equal(ensign_await(n.c, ENSIGN_CLIENT, 5, &x), ENSIGN_TIMEOUT);
    assert_non_null(strstr(ensign_error(n.c)->text, "the time was up: waiting for a connection to 127.0.0.1:"));
    done(&n);
}

static volatile sig_atomic_t rang;
static void ring(int signal_number)
{
    (void)signal_number;
    rang++;
}

/* A signal every few milliseconds; 0: no more. */
static void alarm_every(long us)
{
    struct itimerval every = { { 0, us }, { 0, us } };
    struct sigaction act;

    memset(&act, 0, sizeof act);
    act.sa_handler = ring;
    rang = 0;
    assert_int_equal(sigaction(SIGALRM, &act, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
}

static void a_signal_interrupts_a_wait(void **state)
{
    ensign_poll_t extra;
    int ends[2];
    net_t n;

    (void)state;
    start_connected(&n);
    assert_int_equal(pipe(ends), 0);
    memset(&extra, 0, sizeof extra);
    extra.fd = ends[0];
    extra.want = extra.ready = ENSIGN_READ;
    alarm_every(5000);
    assert_int_equal(ensign_wait(n.c, NULL, 0, -1), ENSIGN_INTERRUPTED);
    assert_true(rang >= 1);
    assert_int_equal(ensign_error(n.c)->code, ENSIGN_INTERRUPTED);
    assert_int_equal(ensign_error(n.c)->native, EINTR);
    assert_non_null(strstr(ensign_error(n.c)->text, "a signal came during ensign_wait"));
    assert_int_equal(ensign_wait(n.c, &extra, 1, 60000), ENSIGN_INTERRUPTED);
    assert_int_equal(extra.ready, 0);
    alarm_every(0);
    assert_int_equal(ensign_wait(n.c, NULL, 0, 0), ENSIGN_TIMEOUT);
    assert_int_equal(sock(&n)->state, ENSI_SOCK_UP); /* and it hurts nothing */
    close(ends[0]);
    close(ends[1]);
    done(&n);
}

/* Neither its end by a notice nor that by the time is early, or kept off by a steady signal. */
static void a_signal_does_not_end_an_await(void **state)
{
    const ensign_notice_t *x;
    ensign_call_desc_t d;
    ensign_call_t k;
    uint64_t began;
    net_t n;

    (void)state;
    start_connected(&n);
    memset(&d, 0, sizeof d);
    d.method = "/test.Socket/Any";
    d.unary = true;
    d.deadline_ms = 60;
    k = ensign_call_open(n.c, &d);
    alarm_every(2000);
    assert_int_equal(ensign_await(n.c, k.id, -1, &x), ENSIGN_OK);
    assert_true(rang >= 2);
    assert_non_null(x);
    assert_int_equal(x->type, ENSIGN_NOTICE_REPLY);
    assert_int_equal(x->as.reply.status, ENSIGN_GRPC_DEADLINE_EXCEEDED);
    rang = 0;
    began = ensign_now_ms();
    assert_int_equal(ensign_await(n.c, ENSIGN_CLIENT, 40, &x), ENSIGN_TIMEOUT);
    assert_true(ensign_now_ms() - began >= 40);
    assert_true(rang >= 2);
    assert_null(x);
    assert_int_equal(ensign_error(n.c)->code, ENSIGN_TIMEOUT); /* not what the signal said */
    assert_non_null(strstr(ensign_error(n.c)->text, "the time was up"));
    alarm_every(0);
    assert_int_equal(sock(&n)->state, ENSI_SOCK_UP);
    done(&n);
}

static ensign_publisher_t publisher(net_t *n, bool with_event)
{
    ensign_publisher_desc_t d;
    ensign_publisher_t p;
    ensign_event_t e;

    memset(&d, 0, sizeof d);
    memset(&e, 0, sizeof e);
    d.topic = "weather";
    p = ensign_publisher_open(n->c, &d);
    assert_int_not_equal(p.id, 0);
    if (with_event) assert_int_equal(ensign_publish(n->c, p, &e), ENSIGN_OK);
    return p;
}

static void a_poll_that_fails_is_told(void **state)
{
    struct rlimit usual, none;
    ensign_publisher_t p;
    net_t n;
    int rc, flushed;

    (void)state;
    start_connected(&n);
    p = publisher(&n, true);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    none = usual;
    none.rlim_cur = 0; /* poll takes no more descriptors than that */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    flushed = ensign_publisher_flush(n.c, p, 20);
    rc = ensign_wait(n.c, NULL, 0, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    if (rc == ENSIGN_TIMEOUT) { /* valgrind keeps the limit from the kernel */
        done(&n);
        skip();
    }
    assert_int_equal(flushed, ENSIGN_E_STATE);
    assert_int_equal(rc, ENSIGN_E_STATE);
    assert_int_equal(ensign_error(n.c)->native, EINVAL);
    assert_non_null(strstr(ensign_error(n.c)->text, "poll of 1 descriptors failed"));
    assert_int_equal(ensign_wait(n.c, NULL, 0, 0), ENSIGN_TIMEOUT); /* and it hurts nothing */
    done(&n);
}

/* Without sockets a step lets time go on, and what waits for bytes is refused. */
static void without_sockets_a_step_is_a_tick(void **state)
{
    const ensign_notice_t *x = NULL;
    ensign_publisher_t p = { 0 };
    ensign_poll_t set[ENSIGN_MAX_FDS];
    ensign_link_t want;
    ensign_call_t k;
    uint64_t now = ensign_now_ms();
    net_t n;

    (void)state;
    listening(&n, "127.0.0.1");
    client(&n, "127.0.0.1", ENSIGN_IO_CALLER);
    k = call(&n, false);
    assert_int_equal(ensign_step(n.c, NULL, 0, now), ENSIGN_OK);
    ensign_link(n.c, ENSIGN_LINK_RPC, &want);
    assert_int_equal(want.todo, ENSIGN_LINK_DIAL);
    assert_int_equal(ensign_poll_set(n.c, set), 0);
    assert_int_equal(ensign_step(n.c, NULL, 0, now), ENSIGN_OK);
    assert_int_equal(ensign_step(n.c, NULL, 0, now + 100000), ENSIGN_OK); /* past connect_timeout_ms */
    ensign_link(n.c, ENSIGN_LINK_RPC, &want);
    assert_int_equal(want.todo, ENSIGN_LINK_HANGUP);
    assert_int_equal(ensign_await(n.c, k.id, 0, &x), ENSIGN_E_STATE);
    assert_null(x);
    assert_non_null(strstr(ensign_error(n.c)->text, "ensign_await moves no bytes"));
    assert_int_equal(ensign_publisher_flush(n.c, p, 0), ENSIGN_E_STATE);
    assert_non_null(strstr(ensign_error(n.c)->text, "ensign_publisher_flush moves no bytes"));
    done(&n);
}

static void a_flush_tells_what_came_of_the_events(void **state)
{
    ensign_publisher_t p = { 0 };
    net_t n;

    (void)state;
    start_connected(&n);
    assert_int_equal(ensign_publisher_flush(n.c, p, 10), ENSIGN_E_HANDLE);
    p = publisher(&n, false);
    assert_int_equal(ensign_publisher_flush(n.c, p, 60000), ENSIGN_OK); /* there is none */
    p = publisher(&n, true);
    assert_int_equal(ensign_publisher_flush(n.c, p, 20), ENSIGN_TIMEOUT); /* this server never answers */
    assert_int_equal(ensign_cancel(n.c, p.id), ENSIGN_OK);
    assert_int_equal(ensign_publisher_flush(n.c, p, 60000), ENSIGN_E_CANCELLED);
    assert_int_equal(ensign_error(n.c)->code, ENSIGN_E_CANCELLED);
    done(&n);
}

static void time_only_goes_on(void **state)
{
    uint64_t last = ensign_now_ms();

    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint64_t now = ensign_now_ms();
        assert_true(now >= last);
        last = now;
    }
}

/* ---- unix sockets */
static char folder[] = "/tmp/ensign-sockets-XXXXXX", path[64];

/* A client of a unix socket in a folder of its own, and perhaps of another endpoint behind it. */
static void start_unix(net_t *n, int backlog, const char *behind)
{
    struct sockaddr_un a;
    char endpoint[160];
    ensign_desc_t d;

    memset(n, 0, sizeof *n);
    memset(&d, 0, sizeof d);
    memset(&a, 0, sizeof a);
    n->peer = -1;
    snprintf(folder, sizeof folder, "/tmp/ensign-sockets-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/socket", folder);
    a.sun_family = AF_UNIX;
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    n->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(n->fd >= 0);
    if (backlog >= 0) assert_int_equal(bind(n->fd, (struct sockaddr *)&a, sizeof a), 0);
    if (backlog >= 0) assert_int_equal(listen(n->fd, backlog), 0);
    snprintf(endpoint, sizeof endpoint, "unix:%s%s", path, behind);
    d.endpoint = endpoint;
    d.token = "it may go to this machine";
    d.tls.off = true;
    d.backoff_min_ms = d.backoff_max_ms = 1;
    assert_int_equal(ensign_create(&d, &n->c, NULL), ENSIGN_OK);
}

static void done_unix(net_t *n)
{
    done(n);
    (void)unlink(path);
    assert_int_equal(rmdir(folder), 0);
}

static void a_unix_socket_carries_a_connection(void **state)
{
    net_t n;
    (void)state;
    start_unix(&n, 4, "");
    call(&n, false);
    welcomed(&n);
    close(n.peer);
    n.peer = -1;
    call(&n, true);
    welcomed(&n);
    done_unix(&n);
}

static void a_unix_socket_that_is_not_there_is_told(void **state)
{
    ensign_error_t e;
    net_t n;
    (void)state;
    start_unix(&n, -1, "");
    call(&n, true);
    until(&n, ENSIGN_NOTICE_DISCONNECTED, &e);
    assert_int_equal(e.code, ENSIGN_E_CONNECT);
    assert_int_equal(e.native, ENOENT);
    assert_non_null(strstr(e.text, path));
    assert_non_null(strstr(e.text, "does the server listen there?"));
    done_unix(&n);
}

/* EAGAIN of such a connect says that the queue is full, and nothing will become of it: the next endpoint is due. */
static void a_full_queue_of_a_unix_socket_fails_at_once(void **state)
{
    char behind[32];
    int fill[64], count = 0;
    struct sockaddr_un a;
    net_t n, tcp;
    (void)state;
    listening(&tcp, "127.0.0.1");
    snprintf(behind, sizeof behind, ",127.0.0.1:%u", (unsigned)tcp.port);
    start_unix(&n, 1, behind);
    memset(&a, 0, sizeof a);
    a.sun_family = AF_UNIX;
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    for (; count < 64; count++) {
        fill[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fill[count], (struct sockaddr *)&a, sizeof a) != 0) break;
    }
    assert_int_equal(errno, EAGAIN);
    call(&n, true);
    tcp.c = n.c;
    welcomed(&tcp);
    assert_string_equal(n.c->rpc_target.end->host.name, "127.0.0.1");
    for (int i = 0; i <= count; i++) close(fill[i]);
    close(tcp.peer);
    close(tcp.fd);
    done_unix(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unix_socket_carries_a_connection),
        cmocka_unit_test(a_unix_socket_that_is_not_there_is_told),
        cmocka_unit_test(a_full_queue_of_a_unix_socket_fails_at_once),
        cmocka_unit_test(only_the_tables_moves_are_made),
        cmocka_unit_test(numeric_addresses_only),
        cmocka_unit_test(an_address_as_text),
        cmocka_unit_test(a_refusal_is_a_notice_with_the_errno),
        cmocka_unit_test(the_second_address_serves_when_the_first_refuses),
        cmocka_unit_test(a_family_that_comes_late_is_dialled_too),
        cmocka_unit_test(a_name_without_an_address_is_told_with_the_resolvers_code),
        cmocka_unit_test(an_address_that_is_no_text_is_passed_over),
        cmocka_unit_test(an_address_refused_at_once_is_left),
        cmocka_unit_test(the_last_error_of_many_is_told),
        cmocka_unit_test(an_address_that_hangs_does_not_hold_up_the_next),
        cmocka_unit_test(a_loser_that_a_loop_knows_is_listed_with_gone),
        cmocka_unit_test(three_race_at_most_and_none_keeps_its_place_for_ever),
        cmocka_unit_test(a_failure_starts_the_next_one_at_once),
        cmocka_unit_test(refusals_take_no_time),
        cmocka_unit_test(a_false_alarm_while_connecting),
        cmocka_unit_test(a_serial_is_never_zero),
        cmocka_unit_test(a_socket_is_made_as_it_should_be),
        cmocka_unit_test(gone_is_listed_once_still_open_then_closed),
        cmocka_unit_test(a_reset_gives_its_errno),
        cmocka_unit_test(a_full_rx_neither_spins_nor_hangs),
        cmocka_unit_test(a_new_socket_has_a_new_serial_and_waits_for_gone),
        cmocka_unit_test(no_dial_before_the_loop_has_seen_gone),
        cmocka_unit_test(a_link_that_the_program_serves_is_left_to_it),
        cmocka_unit_test(a_link_that_went_on_gets_another_socket),
        cmocka_unit_test(strange_serials_are_passed_over),
        cmocka_unit_test(a_spent_budget_makes_the_next_step_due),
        cmocka_unit_test(a_wait_reads_once_what_came_at_once),
        cmocka_unit_test(a_wait_sees_the_end_behind_the_bytes),
#ifdef __linux__
        cmocka_unit_test(a_step_reads_to_the_end),
        cmocka_unit_test(a_step_makes_up_for_a_wait),
#endif
        cmocka_unit_test(a_full_receive_buffer_neither_spins_nor_hangs),
        cmocka_unit_test(a_peer_that_reads_slowly_gets_all_of_it),
        cmocka_unit_test(what_a_step_reads_it_answers_in_the_same_step),
        cmocka_unit_test(a_wrong_protocol_is_hung_up_on),
        cmocka_unit_test(extra_descriptors_end_a_wait),
        cmocka_unit_test(a_wait_ends_with_a_notice),
        cmocka_unit_test(nothing_to_wait_for_is_said),
        cmocka_unit_test(await_gives_a_handles_own_notice),
        cmocka_unit_test(await_gives_up_in_time),
        cmocka_unit_test(await_tells_what_it_waits_for),
        cmocka_unit_test(a_signal_interrupts_a_wait),
        cmocka_unit_test(a_signal_does_not_end_an_await),
        cmocka_unit_test(a_poll_that_fails_is_told),
        cmocka_unit_test(without_sockets_a_step_is_a_tick),
        cmocka_unit_test(a_flush_tells_what_came_of_the_events),
        cmocka_unit_test(time_only_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
