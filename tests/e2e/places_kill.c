/* places_kill.c - a group and a subscriber with `resume` lose nothing, whoever is killed
 *
 *   places_kill [EVENTS SERVER_KILLS]    over a folder, with a server that is killed so often [20000 2]
 *   places_kill late FIRST COUNT         over the engine that is late, for COUNT seeds from FIRST on
 *
 * A publisher and a subscriber with `resume` are in this process; the four members of the group are processes
 * of their own. Each tenth of the events one of these gets a SIGKILL, and a new one takes its place. The
 * server gets its SIGKILLs between them, and is started again on the same folder and ports. All kills are due
 * by how many events the group has acked, never by time.
 *
 * What is known here of an event: its number, which the publisher gave it, and its offset, which tells apart
 * what was stored twice because the publisher had to send it again. A member writes both to a pipe before it
 * acks: so what was acked is known here, whenever the member is killed. A member that is given an event again
 * proves that the ack before it was lost. That may be so for the acks that were under way when their member
 * or the server was killed, and a member has UNACKED of them at most. */
#define _GNU_SOURCE
#include "../soak/soak.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    MEMBERS = 4,
    MEMBER_KILLS = 10,
    LIVES_MAX = MEMBERS + MEMBER_KILLS,
    SERVER_KILLS_MAX = 16,
    UNACKED = 256,              /* events that are out at one member: --max-unacked's default */
    AHEAD = 4096,               /* events that are published before the group has acked them */
    BYTES = 100,
    LATE_EVENTS = 1000
};

static const char topic_name[] = "work", group_name[] = "workers";
static const char keys[] = "{\"projects\":[{\"name\":\"p\",\"keys\":["
                           "{\"client_id\":\"me\",\"client_secret\":\"mine\"}]}]}";

/* Of an event that is acked. Offset 0: the member's stream is open. */
typedef struct record_t { uint64_t offset, number; } record_t;

/* ------------------------------------------------------------------ the server */
typedef struct server_t {
    pid_t    pid;
    unsigned kills;
    char     folder[40], data[64], keys_file[64], late[40];     /* late: the store, "": the folder */
    char     port[16], auth_port[24];                           /* "0" at first; a restart has the same */
} server_t;

static void server_exec(server_t *s, int out)
{
    const char *program = getenv("ENSIGND");

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(out, STDOUT_FILENO);
    execl(program ? program : "build/ensignd", "ensignd", "--port", s->port, "--auth-port", s->auth_port,
          "--keys", s->keys_file, s->late[0] ? "--store" : "--data", s->late[0] ? s->late : s->data,
          (char *)NULL);
    _exit(127);
}

/* Copies the port of "host:port" or "http://host:port". */
static void keep_port(char *out, size_t size, const char *address)
{
    snprintf(out, size, "%s", strrchr(address, ':') + 1);
}

static void server_start(server_t *s)
{
    char line[256] = "", endpoint[64], auth[80];
    int fds[2];
    FILE *f;

    if (pipe2(fds, O_CLOEXEC) != 0) die("pipe: %s", strerror(errno));
    s->pid = fork();
    if (s->pid == 0) server_exec(s, fds[1]);
    close(fds[1]);
    f = fdopen(fds[0], "r");
    if (!f || !fgets(line, sizeof line, f) ||
        sscanf(line, "ensignd: ready, endpoint %63[^,], auth %79s", endpoint, auth) != 2)
        die("the server did not start: %s", line);
    fclose(f);
    keep_port(s->port, sizeof s->port, endpoint);
    keep_port(s->auth_port, sizeof s->auth_port, auth);
    setenv("ENSIGN_ENDPOINT", endpoint, 1);
    setenv("ENSIGN_AUTH_URL", auth, 1);
}

static void server_make(server_t *s, const char *late)
{
    FILE *f;

    memset(s, 0, sizeof *s);
    snprintf(s->folder, sizeof s->folder, "/tmp/ensign-places-XXXXXX");
    if (!mkdtemp(s->folder)) die("%s: %s", s->folder, strerror(errno));
    snprintf(s->data, sizeof s->data, "%s/data", s->folder);
    snprintf(s->keys_file, sizeof s->keys_file, "%s/keys", s->folder);
    snprintf(s->late, sizeof s->late, "%s", late);
    snprintf(s->port, sizeof s->port, "0");
    snprintf(s->auth_port, sizeof s->auth_port, "0");
    f = fopen(s->keys_file, "w");
    if (!f || fputs(keys, f) < 0 || fclose(f) != 0) die("%s: %s", s->keys_file, strerror(errno));
    setenv("ENSIGN_CLIENT_ID", "me", 1);
    setenv("ENSIGN_CLIENT_SECRET", "mine", 1);
    setenv("ENSIGN_INSECURE", "1", 1);
    server_start(s);
}

static int server_end(server_t *s, int signal)
{
    int status = -1;

    if (s->pid <= 0) return 0;
    kill(s->pid, signal);
    while (waitpid(s->pid, &status, 0) < 0 && errno == EINTR) continue;
    s->pid = 0;
    return status;
}

static void server_remove(server_t *s)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf '%s'", s->folder);
    if (system(command) != 0) printf("# %s is left\n", s->folder);
}

/* ------------------------------------------------------------------ a member: this program, `member FD` */
static ensign_t *fast_client(void)
{
    ensign_desc_t d;

    memset(&d, 0, sizeof d);
    d.backoff_min_ms = d.backoff_max_ms = 10;
    return client_open(&d);
}

static ensign_subscription_t subscribe(ensign_t *c, const char *group, bool resume)
{
    static const char *const topics[] = { topic_name };
    ensign_subscription_desc_t d;
    ensign_subscription_t s;

    memset(&d, 0, sizeof d);
    d.topics = topics;
    d.topic_count = 1;
    d.group = group;
    d.resume = resume;
    s = ensign_subscription_open(c, &d);
    if (s.id == 0) die("subscription: %s", ensign_error(c)->text);
    return s;
}

static void tell(int fd, uint64_t offset, uint64_t number)
{
    record_t r = { offset, number };
    if (write(fd, &r, sizeof r) != sizeof r) _exit(3); /* the test has ended */
}

static int run_member(int fd)
{
    const ensign_notice_t *n;
    ensign_subscription_t s;
    ensign_t *c;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    c = fast_client();
    s = subscribe(c, group_name, false);
    while (ensign_await(c, s.id, -1, &n) == ENSIGN_OK) {
        if (n->last) die("member: %s", n->error ? n->error->text : "its end");
        if (n->type == ENSIGN_NOTICE_OPEN) tell(fd, 0, 0);
        if (n->type != ENSIGN_NOTICE_EVENT) continue;
        tell(fd, n->as.event->offset, event_number(n->as.event->data));
        if (ensign_ack(c, s, n->as.event->token) != ENSIGN_OK) die("ack: %s", ensign_error(c)->text);
    }
    die("member: %s", ensign_error(c)->text);
    return 1;
}

/* ------------------------------------------------------------------ what is known of the members */
typedef struct life_t {         /* one process */
    pid_t    pid;
    int      fd;                /* of its pipe; -1: it was killed */
    bool     open;              /* its stream was */
    uint64_t acks;
    uint64_t cuts[SERVER_KILLS_MAX + 1];    /* its `acks` at each kill of the server, then at its own */
    size_t   cut_count;
} life_t;

typedef struct acked_t { uint64_t offset; uint32_t life; uint64_t ack; } acked_t;

typedef struct run_t {
    server_t server;
    ensign_t *client;
    ensign_publisher_t publisher;
    ensign_subscription_t subscription;
    uint64_t total;
    unsigned server_kills;      /* that are to be */
    /* of the publisher */
    uint64_t next, answered, nacked;
    unsigned char *answers;     /* of each number: its ACKs */
    /* of the subscriber */
    uint64_t seen, last_offset, received, out_of_order, gaps;
    char     gap_text[240];     /* of the first one */
    /* of the group */
    life_t   lives[LIVES_MAX];
    size_t   life_count;
    uint64_t member_kills, distinct, events, again, unexplained;
    unsigned char *done;        /* of each number: whether a member has acked it */
    acked_t *table;             /* by offset, open addressing */
    size_t   table_size;
} run_t;

static bool was_under_way(const life_t *l, uint64_t ack)
{
    for (size_t i = 0; i < l->cut_count; i++)
        if (ack + UNACKED > l->cuts[i] && ack <= l->cuts[i] + UNACKED) return true;
    return false;
}

static void note_ack(run_t *r, size_t life, record_t x)
{
    size_t at = (size_t)(x.offset * 0x9e3779b97f4a7c15u) % r->table_size;
    acked_t *a;

    if (x.number >= r->total || x.offset == 0)
        die("a member got event %" PRIu64 " at offset %" PRIu64, x.number, x.offset);
    while (r->table[at].offset && r->table[at].offset != x.offset) at = (at + 1) % r->table_size;
    a = &r->table[at];
    if (a->offset) {
        r->again++;
        if (!was_under_way(&r->lives[a->life], a->ack)) r->unexplained++;
    } else if (++r->events > r->table_size / 2) {
        die("%" PRIu64 " events are stored, far more than the %" PRIu64 " that were published", r->events,
            r->total);
    }
    a->offset = x.offset;
    a->life = (uint32_t)life;
    a->ack = ++r->lives[life].acks;
    r->distinct += !r->done[x.number];
    r->done[x.number] = 1;
}

/* Takes what is in a member's pipe; false: it has ended. Each record was written whole. */
static bool drain_pipe(run_t *r, size_t life)
{
    static record_t records[512];
    ssize_t got;

    while ((got = read(r->lives[life].fd, records, sizeof records)) > 0)
        for (size_t i = 0; i < (size_t)got / sizeof records[0]; i++) {
            if (records[i].offset) note_ack(r, life, records[i]);
            else r->lives[life].open = true;
        }
    return got < 0;
}

static void drain_pipes(run_t *r)
{
    for (size_t i = 0; i < r->life_count; i++)
        if (r->lives[i].fd >= 0 && !drain_pipe(r, i)) die("member %zu has ended by itself", i);
}

static void member_start(run_t *r)
{
    life_t *l = &r->lives[r->life_count++];
    char number[16];
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) != 0) die("pipe: %s", strerror(errno));
    memset(l, 0, sizeof *l);
    fflush(NULL);
    l->pid = fork();
    if (l->pid == 0) {
        snprintf(number, sizeof number, "%d", dup(fds[1]));
        execl("/proc/self/exe", "places_kill", "member", number, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    l->fd = fds[0];
    if (fcntl(l->fd, F_SETFL, O_NONBLOCK) != 0) die("fcntl: %s", strerror(errno));
}

static void member_kill(run_t *r, size_t life)
{
    life_t *l = &r->lives[life];

    kill(l->pid, SIGKILL);
    while (waitpid(l->pid, NULL, 0) < 0 && errno == EINTR) continue;
    while (drain_pipe(r, life)) continue; /* all that it has told */
    close(l->fd);
    l->fd = -1;
    l->cuts[l->cut_count++] = l->acks;
}

/* ------------------------------------------------------------------ the kills */
static void kill_a_member(run_t *r)
{
    size_t oldest = 0;

    while (r->lives[oldest].fd < 0) oldest++;
    member_kill(r, oldest);
    r->member_kills++;
    member_start(r);
}

static void kill_the_server(run_t *r)
{
    (void)server_end(&r->server, SIGKILL);
    r->server.kills++;
    drain_pipes(r);
    for (size_t i = 0; i < r->life_count; i++)
        if (r->lives[i].fd >= 0) r->lives[i].cuts[r->lives[i].cut_count++] = r->lives[i].acks;
    server_start(&r->server);
}

/* The next one is due when the group has acked so many. */
static void strike(run_t *r)
{
    uint64_t members = (2 * r->member_kills + 1) * r->total / (2 * MEMBER_KILLS);
    uint64_t servers = (r->server.kills + 1) * r->total / (r->server_kills + 1);

    if (r->member_kills < MEMBER_KILLS && r->distinct >= members) kill_a_member(r);
    if (r->server.kills < r->server_kills && r->distinct >= servers) kill_the_server(r);
}

/* ------------------------------------------------------------------ the publisher and the subscriber */
static void publish_some(run_t *r)
{
    char data[BYTES];
    ensign_event_t e;
    int rc = ENSIGN_OK;

    memset(&e, 0, sizeof e);
    e.data.ptr = (const uint8_t *)data;
    e.data.len = sizeof data;
    e.mimetype = ENSIGN_MIME_TEXT_PLAIN;
    while (r->publisher.id && r->next < r->total && r->next < r->distinct + AHEAD && rc == ENSIGN_OK) {
        event_fill(data, sizeof data, r->next);
        e.tag = r->next;
        rc = ensign_publish(r->client, r->publisher, &e);
        if (rc < 0) die("publish: %s", ensign_error(r->client)->text);
        r->next += rc == ENSIGN_OK;
    }
}

/* A number that was there before was sent again. */
static void receive(run_t *r, const ensign_event_t *e)
{
    uint64_t number = event_number(e->data);

    r->received++;
    if (e->offset <= r->last_offset || number > r->seen) r->out_of_order++;
    r->last_offset = e->offset;
    if (number >= r->seen) r->seen = number + 1;
}

static void take(run_t *r, const ensign_notice_t *n)
{
    switch (n->type) {
    case ENSIGN_NOTICE_ACK:
        r->answered += r->answers[n->as.ack.tag]++ == 0;
        break;
    case ENSIGN_NOTICE_NACK:
        r->nacked++;
        break;
    case ENSIGN_NOTICE_EVENT:
        receive(r, n->as.event);
        break;
    case ENSIGN_NOTICE_GAP:
        if (r->gaps++ == 0) snprintf(r->gap_text, sizeof r->gap_text, "%s", n->error ? n->error->text : "");
        break;
    default:
        if (n->last) die("%s: %s", ensign_notice_name(n->type), n->error ? n->error->text : "");
    }
}

/* One turn: the client's sockets, and the members' pipes. */
static void run_turn(run_t *r)
{
    ensign_poll_t pipes[MEMBERS];
    const ensign_notice_t *n;
    size_t count = 0;

    memset(pipes, 0, sizeof pipes);
    for (size_t i = 0; i < r->life_count; i++) {
        if (r->lives[i].fd < 0) continue;
        pipes[count].fd = r->lives[i].fd;
        pipes[count++].want = ENSIGN_READ;
    }
    if (ensign_wait(r->client, pipes, count, TURN_MS) < 0) die("wait: %s", ensign_error(r->client)->text);
    drain_pipes(r);
    while ((n = ensign_next(r->client)) != NULL) take(r, n);
}

/* Until `holds`; there must be progress all the time. */
static void run_until(run_t *r, bool (*holds)(const run_t *r))
{
    uint64_t since = ensign_now_ms(), before = 0, now;

    while (!holds(r)) {
        publish_some(r);
        run_turn(r);
        strike(r);
        now = r->answered + r->received + r->events + r->again;
        if (now != before) since = ensign_now_ms();
        else if (ensign_now_ms() - since > STALL_MS)
            die("nothing came for %d ms: %" PRIu64 " published, %" PRIu64 " acked, %" PRIu64 " received, "
                "%" PRIu64 " done by the group", STALL_MS, r->next, r->answered, r->received, r->distinct);
        before = now;
    }
}

static bool all_open(const run_t *r)
{
    for (size_t i = 0; i < r->life_count; i++)
        if (!r->lives[i].open) return false;
    return true;
}

static bool all_done(const run_t *r)
{
    return r->answered + r->nacked == r->total && r->seen == r->total && r->distinct == r->total &&
           r->events == r->received;
}

/* ------------------------------------------------------------------ one run */
static void await_type(run_t *r, uint32_t handle, ensign_notice_type_t type, const ensign_notice_t **n)
{
    do
        if (ensign_await(r->client, handle, STALL_MS, n) != ENSIGN_OK)
            die("%s: %s", ensign_notice_name(type), ensign_error(r->client)->text);
    while ((*n)->type != type && !(*n)->last);
    if ((*n)->type != type) die("%s: %s", ensign_notice_name(type), (*n)->error ? (*n)->error->text : "");
}

/* A subscription and a new group begin with live events: all are there before the first one is published. */
static void begin(run_t *r, const char *late)
{
    ensign_publisher_desc_t pd;
    const ensign_notice_t *n;

    server_make(&r->server, late);
    r->client = fast_client();
    topic_ensure(r->client, topic_name);
    r->subscription = subscribe(r->client, NULL, true);
    await_type(r, r->subscription.id, ENSIGN_NOTICE_OPEN, &n);
    for (size_t i = 0; i < MEMBERS; i++) member_start(r);
    run_until(r, all_open);
    memset(&pd, 0, sizeof pd);
    pd.topic = topic_name;
    r->publisher = ensign_publisher_open(r->client, &pd);
    if (r->publisher.id == 0) die("publisher: %s", ensign_error(r->client)->text);
}

static bool dead_letters(run_t *r)
{
    char name[64];
    const ensign_notice_t *n;

    snprintf(name, sizeof name, "%s-dead", topic_name);
    await_type(r, ensign_topic_exists(r->client, name, NULL, NULL).id, ENSIGN_NOTICE_EXISTS, &n);
    return n->as.exists.exists;
}

static int end(run_t *r)
{
    int status;

    for (size_t i = 0; i < r->life_count; i++)
        if (r->lives[i].fd >= 0) member_kill(r, i);
    ensign_destroy(r->client);
    status = server_end(&r->server, SIGTERM);
    server_remove(&r->server);
    free(r->answers);
    free(r->done);
    free(r->table);
    return status;
}

/* What went wrong, in words; "": nothing. */
static void judge(run_t *r, bool dead, int status, char *out, size_t size)
{
    uint64_t most = UNACKED * (r->member_kills + r->server.kills);

    out[0] = '\0';
    if (r->nacked) snprintf(out, size, "%" PRIu64 " events were NACKed", r->nacked);
    else if (r->gaps) snprintf(out, size, "%" PRIu64 " GAPs: %s", r->gaps, r->gap_text);
    else if (r->out_of_order) snprintf(out, size, "%" PRIu64 " events out of order", r->out_of_order);
    else if (r->unexplained)
        snprintf(out, size, "%" PRIu64 " events came again whose ack was not under way", r->unexplained);
    else if (r->again > most)
        snprintf(out, size, "%" PRIu64 " events came again, more than %" PRIu64, r->again, most);
    else if (dead) snprintf(out, size, "there are dead letters");
    else if (status) snprintf(out, size, "the server ended with status %d", status);
}

static void run(uint64_t total, unsigned server_kills, const char *late)
{
    static run_t r;
    char wrong[320];
    bool dead;

    memset(&r, 0, sizeof r);
    r.total = total;
    r.server_kills = server_kills;
    r.table_size = (size_t)(4 * total + 2 * AHEAD * (server_kills + 1));
    r.answers = (unsigned char *)calloc((size_t)total, 1);
    r.done = (unsigned char *)calloc((size_t)total, 1);
    r.table = (acked_t *)calloc(r.table_size, sizeof *r.table);
    if (!r.answers || !r.done || !r.table) die("no memory for %" PRIu64 " events", total);
    begin(&r, late);
    run_until(&r, all_done);
    dead = dead_letters(&r);
    judge(&r, dead, end(&r), wrong, sizeof wrong);
    result(!wrong[0],
           "%s%s%" PRIu64 " events, %" PRIu64 " kills of members, %u of the server: each acked by a member, "
           "%" PRIu64 " stored twice, %" PRIu64 " acked again%s%s", late, late[0] ? ": " : "", total,
           r.member_kills, r.server.kills, r.events - total, r.again, wrong[0] ? "; " : "", wrong);
}

static int usage(void)
{
    fprintf(stderr, "places_kill [EVENTS SERVER_KILLS] | late FIRST COUNT\n"
                    "EVENTS from 1000, SERVER_KILLS to %d\n", SERVER_KILLS_MAX);
    return 2;
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 2 ? strtoull(argv[argc - 2], NULL, 10) : 0;
    uint64_t second = argc > 2 ? strtoull(argv[argc - 1], NULL, 10) : 0;
    bool late = argc == 4 && strcmp(argv[1], "late") == 0;
    char store[40];

    if (argc == 3 && strcmp(argv[1], "member") == 0) return run_member((int)second);
    if (argc == 1) run(20000, 2, "");
    else if (argc == 3 && first >= 1000 && second <= SERVER_KILLS_MAX) run(first, (unsigned)second, "");
    else if (!late) return usage();
    for (uint64_t seed = first; late && seed < first + second; seed++) {
        snprintf(store, sizeof store, "late:%" PRIu64, seed);
        run(LATE_EVENTS, 0, store);
    }
    printf("1..%d\n", results);
    return failures ? 1 : 0;
}
