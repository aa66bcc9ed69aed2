/* link.c - section link: every state with every input, the order of addresses, rounds of them, the backoff, what
 * the buffers promise */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <stdio.h>
#include <cmocka.h>
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#ifndef ENSIGN_NO_TLS
#include "../certs.h"
#endif

enum { MAX_ENDPOINTS = 4 };
static void *(*hook)(void *user, void *old, size_t size);   /* of the next link; NULL: ours */
static ensi_env_t env;
static ensi_target_t t;
static ensi_link_t l;

/* Gives the target an endpoint more. */
static ensi_endpoint_t *add_endpoint(const char *host, bool literal, bool secure)
{
    ensi_endpoint_t *e = &t.endpoints[t.endpoint_count++];
    e->host.name = ensi_mem_text(&env.mem, host);
    e->host.literal = literal;
    e->host.port = 443;
    e->secure = e->tls = secure;
    snprintf(e->host.where, sizeof e->host.where, "%s:443", host);
    e->text = ensi_mem_text(&env.mem, e->host.where);
    return e;
}

static void open_link(const char *host, bool literal, bool secure)
{
    memset(&env, 0, sizeof env);
    memset(&l, 0, sizeof l);
    memset(&t, 0, sizeof t);
    env.mem.alloc = hook ? hook : ensi_mem_default;
    env.rng = 42;
    l.env = &env;
    l.target = &t;
    t.name = "rpc";
    t.endpoints = (ensi_endpoint_t *)ensi_mem_zero(&env.mem, MAX_ENDPOINTS * sizeof *t.endpoints);
    t.end = l.end = add_endpoint(host, literal, secure);
    env.backoff_min_ms = 100;
    env.backoff_max_ms = 5000;
#ifndef ENSIGN_NO_TLS
    t.tls_opts.insecure_skip_verify = true;
#endif
}

static void close_link(void)
{
    ensi_link_free(&l);
    ensi_target_free(&t, &env.mem);
    ensi_mem_close(&env.mem);
    assert_int_equal(env.mem.used, 0);
}

static void run_link(bool secure)
{
    open_link("192.0.2.1", true, secure);
    ensi_link_want(&l, 1000);
    assert_int_equal(l.state, ENSI_LINK_DIAL);
    ensi_link_up(&l, 0);
    assert_int_equal(l.fault.code, ENSIGN_OK);
    assert_int_equal(l.state, ENSI_LINK_RUN);
}

/* ---- memory that looks at what is given back */

static bool spilled;

static void *looking_alloc(void *user, void *old, size_t size)
{
    static const char secret[] = "a secret";
    size_t have = 0, full;
    uint8_t *p;
    (void)user;
    if (old) memcpy(&have, old, sizeof have); /* its size stands in front: section mem */
    for (size_t i = ENSI_MEM_HEADER; old && i + sizeof secret <= have + ENSI_MEM_HEADER; i++)
        if (memcmp((const uint8_t *)old + i, secret, sizeof secret) == 0) spilled = true;
    p = (uint8_t *)ensi_mem_default(user, old, size);
    full = old ? have + ENSI_MEM_HEADER : 0;
    if (p && size > full) memset(p + full, 0, size - full); /* what is looked at has a value */
    return p;
}

static void the_buffers_are_wiped_before_they_are_given_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        hook = looking_alloc;
        run_link(true);
        hook = NULL;
        spilled = false;
        uint8_t *const ends[] = { l.rx.ptr + l.rx.cap, l.tx.ptr + l.tx.cap, l.plain + ENSI_RECORD_BYTES,
                                  l.plain + 2 * ENSI_RECORD_BYTES };
        memcpy(ends[i] - sizeof "a secret", "a secret", sizeof "a secret");
        if (i < 2) (i == 0 ? &l.rx : &l.tx)->end = l.rx.cap; /* as if all of it had come, or was to go */
        else l.plain_used[i - 2] = ENSI_RECORD_BYTES;
        close_link();
        if (spilled) fail_msg("buffer %u was given back as it was", (unsigned)i);
    }
}

/* nghttp2 gets larger blocks from us, and none of them may be left as it was. */
static void what_nghttp2_gives_back_is_wiped(void **state)
{
    static const size_t sizes[] = { 10, ENSI_MEM_SMALL, ENSI_MEM_SMALL + 1, 5000 };
    ensi_h2_t h;
    (void)state;
    memset(&env, 0, sizeof env);
    memset(&h, 0, sizeof h);
    h.env = &env;
    env.mem.alloc = looking_alloc;
    spilled = false;
    for (size_t i = 0; i < ENSI_COUNT(sizes); i++) {
        uint8_t *p = (uint8_t *)ensi_h2_malloc(sizes[i], &h), *larger;
        memcpy(p, "a secret", sizeof "a secret");
        larger = (uint8_t *)ensi_h2_realloc(p, 2 * sizes[i] + 1, &h);
        assert_memory_equal(larger, "a secret", sizeof "a secret");
        env.mem.limit = env.mem.used;
        assert_null(ensi_h2_realloc(larger, 100000, &h));
        assert_memory_equal(larger, "a secret", sizeof "a secret"); /* as realloc: it stands */
        env.mem.limit = 0;
        assert_ptr_equal(ensi_h2_realloc(larger, 5, &h), larger);
        ensi_h2_free(larger, &h);
        ensi_h2_free(NULL, &h);
    }
    ensi_mem_close(&env.mem);
    assert_int_equal(env.mem.used, 0);
    assert_false(spilled);
}

/* ---- states */

#define NO ENSI_LINK_STATES
static const ensi_link_state_t expected[ENSI_LINK_STATES][ENSI_LINK_INPUTS] = {
    /*            NAME               ADDRESS         UP             DOWN            STOP */
    /* IDLE */    { ENSI_LINK_RESOLVE, ENSI_LINK_DIAL, NO,            NO,             NO               },
    /* RESOLVE */ { NO,                ENSI_LINK_DIAL, NO,            ENSI_LINK_IDLE, ENSI_LINK_IDLE   },
    /* DIAL */    { NO,                NO,             ENSI_LINK_RUN, ENSI_LINK_IDLE, ENSI_LINK_HANGUP },
    /* RUN */     { NO,                NO,             NO,            ENSI_LINK_IDLE, ENSI_LINK_HANGUP },
    /* HANGUP */  { NO,                NO,             NO,            ENSI_LINK_IDLE, NO               },
};

static void legal_moves_move_and_all_others_leave_the_state(void **state)
{
    size_t legal = 0;
    (void)state;
    for (int from = 0; from < ENSI_LINK_STATES; from++)
        for (int in = 0; in < ENSI_LINK_INPUTS; in++) {
            bool may = expected[from][in] != NO;
            open_link("a.example", false, false);
            l.state = (ensi_link_state_t)from;
            assert_int_equal(ensi_link_move(&l, (ensi_link_in_t)in), may);
            assert_int_equal(l.state, may ? (int)expected[from][in] : from);
            legal += may;
            close_link();
        }
    assert_int_equal(legal, ENSI_COUNT(ensi_link_moves)); /* none is written twice */
}

/* What the pump or the caller may do at a wrong moment changes nothing. */
static void calls_in_a_wrong_state_change_nothing(void **state)
{
    (void)state;
    for (int from = 0; from < ENSI_LINK_STATES; from++) {
        open_link("a.example", false, false);
        l.state = (ensi_link_state_t)from;
        l.attempt = 7;
        ensi_timer_start(&l.timer, 99);
        if (from != ENSI_LINK_IDLE) ensi_link_want(&l, 1);
        if (from != ENSI_LINK_DIAL) ensi_link_up(&l, 0);
        if (from == ENSI_LINK_IDLE) ensi_link_down(&l);
        if (from == ENSI_LINK_IDLE || from == ENSI_LINK_HANGUP) ensi_link_stop(&l);
        ensi_timer_start(&t.timer, 5); /* while the target waits */
        ensi_link_want(&l, 1);
        assert_int_equal(l.state, from);
        assert_int_equal(l.attempt, 7);
        assert_int_equal(ensi_timer_left(&l.timer, 0), 99);
        assert_null(l.rx.ptr);
        close_link();
    }
}

static void a_name_is_resolved_and_an_address_is_dialed(void **state)
{
    (void)state;
    open_link("a.example", false, false);
    ensi_link_want(&l, 1000);
    assert_int_equal(l.state, ENSI_LINK_RESOLVE);
    assert_int_equal(l.attempt, 1);
    assert_int_equal(ensi_timer_left(&l.timer, 0), 1000);
    ensi_link_stop(&l); /* nothing is open: no HANGUP to be answered */
    assert_int_equal(l.state, ENSI_LINK_IDLE);
    close_link();

    open_link("2001:db8::1", true, false);
    ensi_link_want(&l, 1000);
    assert_int_equal(l.state, ENSI_LINK_DIAL);
    assert_int_equal(l.address_count, 1);
    assert_string_equal(l.addresses[0], "2001:db8::1");
    close_link();
}

/* ---- the order of addresses */

enum { MAX = ENSIGN_MAX_ADDRESSES, MANY = 4 * MAX };

/* Addresses by a word, a letter for each: '4' and '6', numbered within their family from 1 on. */
static size_t spell(const char *families, char text[MANY][ENSI_ADDRESS_BYTES], const char *list[MANY])
{
    unsigned v4 = 0, v6 = 0;
    size_t n = 0;
    for (; families[n]; n++) {
        assert_true(n < MANY);
        if (families[n] == '4') snprintf(text[n], ENSI_ADDRESS_BYTES, "192.0.2.%u", ++v4);
        else snprintf(text[n], ENSI_ADDRESS_BYTES, "2001:db8::%u", ++v6);
        list[n] = text[n];
    }
    return n;
}

/* What stands in the target, spelt as in `spell`, with each one's number: "4162..." */
static const char *order(void)
{
    static char text[3 * MAX + 1];
    size_t n = 0;
    for (size_t i = 0; i < t.address_count; i++) {
        const char *a = t.addresses[i].text;
        bool v6 = strchr(a, ':') != NULL;
        n += (size_t)snprintf(text + n, sizeof text - n, "%c%s ", v6 ? '6' : '4',
                              strrchr(a, v6 ? ':' : '.') + 1);
    }
    if (n) n--;
    text[n] = '\0';
    return text;
}

static void set_addresses(const char *families)
{
    static char text[MANY][ENSI_ADDRESS_BYTES];
    const char *list[MANY];
    size_t n = spell(families, text, list);
    ensi_target_set_addresses(&t, list, n);
    memset(text, '!', sizeof text); /* they are copied */
}

/* RFC 8305, section 4, with a first address family count of 1. */
static void the_families_take_turns(void **state)
{
    static const struct { const char *given, *kept; } rows[] = {
        { "", "" },
        { "4", "41" },
        { "6", "61" },
        { "444", "41 42 43" },
        { "46", "41 61" },
        { "64", "61 41" },
        { "6644", "61 41 62 42" },
        { "4466", "41 61 42 62" },
        { "66664", "61 41 62 63 64" },
        { "46666", "41 61 62 63 64" },
        { "4646466", "41 61 42 62 43 63 64" },
        { "4444444444", "41 42 43 44 45 46 47 48" },
        { "444444444444466", "41 61 42 62 43 44 45 46" }, /* both families are kept, */
        { "66666666666666666666666666666664", "61 41 62 63 64 65 66 67" }, /* however late one comes */
        { "66666666664444444444", "61 41 62 42 63 43 64 44" },
    };
    (void)state;
    assert_int_equal(MAX, 8); /* as the rows have it */
    for (size_t i = 0; i < ENSI_COUNT(rows); i++) {
        open_link("a.example", false, false);
        set_addresses(rows[i].given);
        assert_string_equal(order(), rows[i].kept);
        set_addresses("64"); /* and another answer replaces all of it */
        assert_string_equal(order(), "61 41");
        close_link();
    }
}

/* To the address of that index, with success. */
static void connect_to(const char *families, size_t index)
{
    t.address_count = 0; /* in a round of its own */
    ensi_link_want(&l, 1000);
    set_addresses(families);
    ensi_link_dial(&l);
    ensi_link_up(&l, index);
    assert_int_equal(l.state, ENSI_LINK_RUN);
    ensi_link_works(&l);
    ensi_link_down(&l);
    assert_int_equal(l.state, ENSI_LINK_IDLE);
}

static void what_worked_the_last_time_goes_first(void **state)
{
    (void)state;
    open_link("a.example", false, false);
    connect_to("6644", 3);
    assert_string_equal(order(), ""); /* the next round asks anew */
    set_addresses("6644");
    assert_string_equal(order(), "42 61 41 62");
    connect_to("6644", 1); /* of this order */
    set_addresses("6644");
    assert_string_equal(order(), "61 41 62 42");
    connect_to("6644", 2);
    set_addresses("4466"); /* by its text, wherever it stands in the answer */
    assert_string_equal(order(), "62 41 61 42");
    set_addresses("44"); /* it is not there any more */
    assert_string_equal(order(), "41 42");
    set_addresses("4466");
    assert_string_equal(order(), "62 41 61 42"); /* and is remembered all the same */
    connect_to("4466", 99); /* an index that is none names no address */
    set_addresses("4466");
    assert_string_equal(order(), "62 41 61 42");
    close_link();
}

/* Any answer: no more than MAX, none twice, each family in the resolver's order, and they take turns while
 * both have some. */
static void any_answer_is_ordered_by_these_rules(void **state)
{
    uint64_t rng = 5;
    (void)state;
    for (unsigned round = 0; round < 2000; round++) {
        char families[MANY + 1], kept[MAX];
        size_t n = (size_t)(ensi_rng_next(&rng) % (MANY + 1)), count[2] = { 0, 0 }, seen[2] = { 0, 0 };
        for (size_t i = 0; i < n; i++) {
            bool v6 = ensi_rng_next(&rng) % 3 == 0;
            families[i] = v6 ? '6' : '4';
            count[v6]++;
        }
        families[n] = '\0';
        open_link("a.example", false, false);
        set_addresses(families);
        assert_int_equal(t.address_count, n < MAX ? n : MAX);
        for (size_t i = 0; i < t.address_count; i++) {
            const char *a = t.addresses[i].text;
            bool v6 = strchr(a, ':') != NULL;
            kept[i] = v6 ? '6' : '4';
            assert_int_equal(strtoul(strrchr(a, v6 ? ':' : '.') + 1, NULL, 10), ++seen[v6]);
            if (i == 0) assert_int_equal(kept[0], families[0]);
            else if (kept[i] == kept[i - 1]) assert_int_equal(seen[!v6], count[!v6]); /* the rest */
        }
        close_link();
    }
}

/* ---- failures */

static void the_first_reason_stands(void **state)
{
    (void)state;
    run_link(false);
    ensi_link_fault(&l, ENSIGN_E_TLS, 5, "first %d", 1);
    ensi_link_fault(&l, ENSIGN_E_CLOSED, 6, "second");
    assert_int_equal(l.fault.code, ENSIGN_E_TLS);
    assert_int_equal(l.fault.native, 5);
    assert_string_equal(l.fault.text, "first 1");
    close_link();
}

/* ---- rounds */

/* The next attempt of a round: what it may dial. */
static const char *next_attempt(void)
{
    static char text[3 * MAX + 1];
    size_t n = 0;
    ensi_link_want(&l, 1000);
    if (l.state == ENSI_LINK_RESOLVE) return "resolve";
    if (l.state != ENSI_LINK_DIAL) return "wait";
    for (size_t i = 0; i < l.address_count; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", i ? " " : "",
                              strrchr(l.addresses[i], '.') + 1);
    return text;
}

/* The connection is made, and ends before it was of any use. */
static void fails_at(size_t index)
{
    ensi_link_up(&l, index);
    ensi_link_fault(&l, ENSIGN_E_CLOSED, 0, "closed at once");
    ensi_link_down(&l);
}

static void each_address_is_tried_once_without_a_backoff(void **state)
{
    (void)state;
    open_link("a.example", false, false);
    assert_string_equal(next_attempt(), "resolve");
    set_addresses("444");
    ensi_link_dial(&l);
    assert_int_equal(l.address_count, 3);
    fails_at(1);
    assert_true(ensi_link_goes_on(&l));
    assert_int_equal(t.backoff.failures, 0);
    assert_string_equal(next_attempt(), "1 3");
    fails_at(0);
    assert_string_equal(next_attempt(), "3");
    fails_at(0);
    assert_false(ensi_link_goes_on(&l));
    assert_int_equal(t.backoff.failures, 1); /* one for all of them */
    assert_true(ensi_target_waits(&t));
    assert_string_equal(next_attempt(), "wait");
    ensi_timer_stop(&t.timer);
    assert_string_equal(next_attempt(), "resolve"); /* a new round */
    close_link();
}

static void no_address_that_can_be_connected_ends_the_round(void **state)
{
    (void)state;
    open_link("a.example", false, false);
    (void)next_attempt();
    set_addresses("44");
    ensi_link_dial(&l);
    ensi_link_fault(&l, ENSIGN_E_CONNECT, 0, "all refused");
    ensi_link_down(&l);
    assert_false(ensi_link_goes_on(&l));
    assert_int_equal(t.backoff.failures, 1);
    close_link();
}

static void a_mute_address_gets_a_share_of_the_round(void **state)
{
    (void)state;
    open_link("a.example", false, false);
    (void)next_attempt(); /* of 1000 ms */
    set_addresses("444");
    ensi_link_dial(&l);
    assert_int_equal(ensi_timer_left(&l.timer, env.now_ms), 1000);
    env.now_ms = 100;
    ensi_link_up(&l, 0);
    assert_int_equal(ensi_timer_left(&l.timer, env.now_ms), 225);
    env.now_ms = 400;
    ensi_link_fault(&l, ENSIGN_E_STALLED, 0, "mute");
    ensi_link_stop(&l);
    ensi_link_down(&l);
    assert_string_equal(next_attempt(), "2 3");
    ensi_link_up(&l, 0);
    assert_int_equal(ensi_timer_left(&l.timer, env.now_ms), 200);
    env.now_ms = 1000; /* the time of the round is up: the third one is not tried */
    ensi_link_fault(&l, ENSIGN_E_STALLED, 0, "mute");
    ensi_link_down(&l);
    assert_false(ensi_link_goes_on(&l));
    assert_int_equal(t.backoff.failures, 1);
    close_link();
}

/* What we end ourselves is no failure of the address. */
static void a_connection_that_we_end_leaves_the_round_as_it_is(void **state)
{
    (void)state;
    open_link("a.example", false, false);
    (void)next_attempt();
    set_addresses("44");
    ensi_link_dial(&l);
    ensi_link_up(&l, 0);
    ensi_link_stop(&l);
    ensi_link_down(&l);
    assert_string_equal(next_attempt(), "1 2");
    ensi_link_stop(&l);
    ensi_link_down(&l);
    env.now_ms = 1000; /* of a round whose time is over nothing is left */
    assert_string_equal(next_attempt(), "resolve");
    close_link();
}

static uint32_t wait_after(int fault, bool orderly)
{
    uint32_t left;
    ensi_link_want(&l, 1000);
    ensi_link_up(&l, 0);
    if (fault) ensi_link_fault(&l, fault, 0, "why");
    l.orderly = orderly;
    ensi_link_down(&l);
    assert_int_equal(l.state, ENSI_LINK_IDLE);
    left = ensi_timer_left(&t.timer, 0);
    assert_int_equal(left != ENSIGN_FOREVER, ensi_target_waits(&t));
    ensi_timer_stop(&t.timer);
    return left == ENSIGN_FOREVER ? 0 : left;
}

static void only_failures_count_and_make_it_wait(void **state)
{
    (void)state;
    open_link("192.0.2.1", true, false);
    env.now_ms = 5000;
    assert_int_equal(wait_after(0, false), 0);
    assert_int_equal(wait_after(ENSIGN_E_GOAWAY, true), 0);
    assert_int_equal(t.backoff.failures, 0);
    for (uint32_t i = 1; i <= 20; i++) {
        uint64_t most = (uint64_t)100 << (i - 1);
        env.now_ms = 10000; /* the first failure was long ago, but for the first */
        assert_true(wait_after(ENSIGN_E_CLOSED, false) <= (most < 5000 ? most : 5000));
        assert_int_equal(t.backoff.failures, i);
    }
    close_link();
}

static void backoff_stays_within_bounds_and_a_seed_replays_it(void **state)
{
    static const uint32_t bounds[][2] = { { 1, 1 }, { 100, 5000 }, { 1000, 60000 }, { 5000, 100 },
                                          { 1, UINT32_MAX - 1 }, { UINT32_MAX - 1, UINT32_MAX - 1 } };
    (void)state;
    open_link("192.0.2.1", true, false);
    env.now_ms = UINT64_MAX / 2; /* the first failure was long ago */
    for (size_t b = 0; b < ENSI_COUNT(bounds); b++)
        for (uint32_t failures = 1; failures < 70; failures++) {
            uint32_t min = bounds[b][0], max = bounds[b][1];
            uint64_t limit = failures <= 32 ? (uint64_t)min << (failures - 1) : max;
            uint64_t low = UINT64_MAX, high = 0;
            ensi_backoff_t b_now = { failures, 0 };
            if (limit > max) limit = max;
            env.backoff_min_ms = min;
            env.backoff_max_ms = max;
            for (uint64_t seed = 0; seed < 200; seed++) {
                uint64_t after;
                uint32_t wait;
                env.rng = seed;
                wait = ensi_backoff_draw(&b_now, &env);
                assert_true(wait <= limit);
                after = env.rng;
                env.rng = seed;
                assert_int_equal(ensi_backoff_draw(&b_now, &env), wait);
                assert_int_equal(env.rng, after);
                if (wait < low) low = wait;
                if (wait > high) high = wait;
            }
            if (limit < 100) continue;
            assert_true(low < limit / 10); /* full jitter: all of the range is used */
            assert_true(high > limit - limit / 10);
        }
    close_link();
}

/* What comes back after an outage is found within twice its length. */
static void no_wait_is_longer_than_the_outage_so_far(void **state)
{
    ensi_backoff_t b = { 0, 0 };
    uint64_t high = 0;
    (void)state;
    open_link("192.0.2.1", true, false);
    env.now_ms = 7000;
    assert_int_equal(ensi_backoff_draw(&b, &env), 0);
    for (uint32_t i = 0; i < 20; i++) ensi_backoff_fail(&b, &env);
    assert_int_equal(b.since_ms, 7000);
    env.now_ms = 8000;
    for (uint64_t seed = 0; seed < 1000; seed++) {
        uint32_t wait;
        env.rng = seed;
        wait = ensi_backoff_draw(&b, &env);
        assert_true(wait <= 1000 + env.backoff_min_ms);
        if (wait > high) high = wait;
    }
    assert_true(high > 1000);
    b.failures = 0;
    ensi_backoff_fail(&b, &env); /* another outage */
    assert_int_equal(b.since_ms, 8000);
    close_link();
}

static void up_without_memory_hangs_up_and_says_why(void **state)
{
    enum { BUFFER = ENSIGN_LINK_BUFFER_BYTES, RECORDS = 2 * ENSI_RECORD_BYTES };
    static const struct { size_t room; bool secure; } rows[] = {
        { 100, false }, { BUFFER + 100, false }, { 100, true }, { BUFFER + 100, true },
        { 2 * BUFFER + 100, true }, /* the records */
        { 2 * BUFFER + RECORDS + 100, true }, /* the settings */
    };
    (void)state;
    for (size_t i = 0; i < ENSI_COUNT(rows); i++) {
        open_link("192.0.2.1", true, rows[i].secure);
        env.mem.limit = env.mem.used + rows[i].room;
        ensi_link_want(&l, 1000);
        ensi_link_up(&l, 0);
        assert_int_equal(l.state, ENSI_LINK_HANGUP);
        assert_int_equal(l.fault.code, ENSIGN_E_MEMORY);
        assert_non_null(strstr(l.fault.text, "192.0.2.1:443"));
        ensi_link_down(&l);
        assert_int_equal(l.state, ENSI_LINK_IDLE);
        close_link();
    }
}

/* ---- buffers */

/* What the caller sees in tx stays where it is until all of it is acked; then all of it is room again. */
static void tx_is_rewound_only_when_wholly_acked(void **state)
{
    size_t room, sum = 0;
    uint8_t *at, *seen;
    (void)state;
    run_link(false);
    seen = l.tx.ptr;
    for (unsigned i = 0; i < 10; i++) {
        at = ensi_link_reserve(&l, &room);
        assert_ptr_equal(at, seen + sum);
        assert_int_equal(room, ENSIGN_LINK_BUFFER_BYTES - sum);
        memset(at, (int)i, 1000);
        assert_int_equal(ensi_link_commit(&l, 1000), ENSIGN_OK);
        sum += 1000;
        l.tx.start += 900; /* acked, but not all */
        for (size_t k = l.tx.start; k < l.tx.end; k++) assert_int_equal(seen[k], (uint8_t)(k / 1000));
    }
    l.tx.start = l.tx.end - 1;
    assert_ptr_equal(ensi_link_reserve(&l, &room), seen + sum);
    l.tx.start = l.tx.end;
    assert_ptr_equal(ensi_link_reserve(&l, &room), seen);
    assert_int_equal(room, ENSIGN_LINK_BUFFER_BYTES);
    at = ensi_link_reserve(&l, &room);
    assert_int_equal(ensi_link_commit(&l, room), ENSIGN_OK);
    ensi_link_reserve(&l, &room);
    assert_int_equal(room, 0);
    l.tx.start = 1;
    ensi_link_reserve(&l, &room);
    assert_int_equal(room, 0);
    close_link();
}

static void nothing_can_be_sent_before_it_is_up_or_after(void **state)
{
    size_t room = 1;
    (void)state;
    run_link(false);
    ensi_link_stop(&l);
    assert_null(ensi_link_reserve(&l, &room));
    assert_int_equal(room, 0);
    ensi_link_down(&l);
    assert_null(ensi_link_reserve(&l, &room));
    assert_int_equal(l.tx.end, 0);
    close_link();
}

static void what_was_received_is_taken_whole(void **state)
{
    const uint8_t *p;
    size_t len;
    (void)state;
    run_link(false);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(l.rx.cap - l.rx.end, ENSIGN_LINK_BUFFER_BYTES);
        memset(l.rx.ptr, (int)i, 5000);
        l.rx.end = 5000;
        assert_int_equal(ensi_link_read(&l, &p, &len), ENSIGN_OK);
        assert_int_equal(len, 5000);
        for (size_t k = 0; k < len; k++) assert_int_equal(p[k], (uint8_t)i);
        assert_int_equal(ensi_link_read(&l, &p, &len), ENSIGN_AGAIN);
    }
    close_link();
}

/* A server may send more than the buffer holds before the handshake is done: here, warnings without end. */
static void a_long_handshake_does_not_fill_rx(void **state)
{
#ifndef ENSIGN_NO_TLS
    static const uint8_t warning[] = { 21, 3, 3, 0, 2, 1, 90 };
    (void)state;
    run_link(true);
    assert_int_equal(ensi_link_shake(&l), ENSIGN_AGAIN); /* our hello is out */
    assert_true(l.tx.end > 0);
    l.tx.start = l.tx.end;
    for (size_t i = 0; i < 2 * ENSIGN_LINK_BUFFER_BYTES / sizeof warning; i++) {
        assert_true(l.rx.cap - l.rx.end >= sizeof warning);
        memcpy(l.rx.ptr + l.rx.end, warning, sizeof warning);
        l.rx.end += sizeof warning;
        if (ensi_link_shake(&l) < 0) break; /* giving up is as good */
        assert_false(l.shaken);
    }
    assert_int_equal(l.rx.cap - l.rx.end, ENSIGN_LINK_BUFFER_BYTES);
    close_link();
#else
    (void)state;
#endif
}

static void garbage_instead_of_a_handshake_is_an_error_with_a_text(void **state)
{
#ifndef ENSIGN_NO_TLS
    static const char http[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    (void)state;
    run_link(true);
    assert_int_equal(ensi_link_shake(&l), ENSIGN_AGAIN);
    memcpy(l.rx.ptr, http, sizeof http - 1);
    l.rx.end = sizeof http - 1;
    assert_true(ensi_link_shake(&l) < 0);
    assert_int_equal(l.fault.code, ENSIGN_E_TLS);
    assert_non_null(strstr(l.fault.text, "192.0.2.1:443"));
    ensi_link_stop(&l);
    assert_int_equal(l.state, ENSI_LINK_HANGUP);
    close_link();
#else
    (void)state;
#endif
}

#ifndef ENSIGN_NO_TLS
/* ---- TLS: a server in the same process, which takes what is in tx and gives to rx */

static mbedtls_ssl_config server_config;
static mbedtls_ssl_context server;
static mbedtls_x509_crt server_chain;
static certs_t server_cert;
static uint64_t server_seed;

static int server_recv(void *arg, unsigned char *out, size_t len)
{
    size_t n = l.tx.end - l.tx.start;
    (void)arg;
    if (n == 0) return MBEDTLS_ERR_SSL_WANT_READ;
    if (n > len) n = len;
    memcpy(out, l.tx.ptr + l.tx.start, n);
    l.tx.start += n;
    return (int)n;
}

static int server_send(void *arg, const unsigned char *p, size_t len)
{
    (void)arg;
    if (len > l.rx.cap - l.rx.end) return MBEDTLS_ERR_SSL_WANT_WRITE;
    memcpy(l.rx.ptr + l.rx.end, p, len);
    l.rx.end += len;
    return (int)len;
}

static void server_open(void)
{
    certs_make(&server_cert, NULL, "CN=server", "server.example", CERTS_FROM, CERTS_TO);
    mbedtls_ssl_config_init(&server_config);
    mbedtls_ssl_init(&server);
    mbedtls_x509_crt_init(&server_chain);
    assert_int_equal(mbedtls_ssl_config_defaults(&server_config, MBEDTLS_SSL_IS_SERVER,
                                                 MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT),
                     0);
    assert_int_equal(mbedtls_x509_crt_parse(&server_chain, (const unsigned char *)server_cert.pem,
                                            strlen(server_cert.pem) + 1),
                     0);
    mbedtls_ssl_conf_rng(&server_config, certs_random, &server_seed);
    assert_int_equal(mbedtls_ssl_conf_own_cert(&server_config, &server_chain, &server_cert.key), 0);
    assert_int_equal(mbedtls_ssl_setup(&server, &server_config), 0);
    mbedtls_ssl_set_bio(&server, NULL, server_send, server_recv, NULL);
}

static void server_close(void)
{
    mbedtls_ssl_free(&server);
    mbedtls_ssl_config_free(&server_config);
    mbedtls_x509_crt_free(&server_chain);
    certs_free(&server_cert);
}

/* A write to TLS is whole records or nothing: without room for the largest there is none at all. */
static void tx_without_room_for_a_record_gives_none(void **state)
{
    static unsigned char got[ENSI_RECORD_BYTES];
    size_t room = 1, sent = 0, taken = 0;
    uint8_t *at;
    int rc;
    (void)state;
    run_link(true);
    server_open();
    assert_null(ensi_link_reserve(&l, &room)); /* not before the handshake */
    for (int i = 0; i < 20 && !(l.shaken && mbedtls_ssl_handshake(&server) == 0); i++) {
        assert_true(ensi_link_shake(&l) >= 0);
        (void)mbedtls_ssl_handshake(&server);
    }
    assert_true(l.shaken);
    while ((at = ensi_link_reserve(&l, &room)) != NULL) {
        assert_int_equal(room, ENSI_RECORD_BYTES);
        memset(at, (int)(sent / ENSI_RECORD_BYTES), room);
        assert_int_equal(ensi_link_commit(&l, room), ENSIGN_OK);
        sent += room;
        assert_true(sent < 2 * ENSIGN_LINK_BUFFER_BYTES);
    }
    assert_int_equal(room, 0);
    assert_true(sent > 0 && l.tx.cap - l.tx.end < ensi_tls_record_room(&l.tls, ENSI_RECORD_BYTES));
    l.tx.start += 1000; /* some of it is sent: that does not move what is there */
    assert_null(ensi_link_reserve(&l, &room));
    l.tx.start -= 1000;
    while (taken < sent && (rc = mbedtls_ssl_read(&server, got, sizeof got)) > 0) {
        assert_int_equal(got[0], taken / ENSI_RECORD_BYTES);
        taken += (size_t)rc;
    }
    assert_int_equal(taken, sent);
    assert_non_null(ensi_link_reserve(&l, &room)); /* all of it is sent */
    assert_int_equal(room, ENSI_RECORD_BYTES);
    server_close();
    close_link();
}

static char warned[400];

static void on_log(void *user, int level, const char *text)
{
    (void)user;
    if (level == ENSIGN_LOG_WARNING) snprintf(warned, sizeof warned, "%s", text);
}

/* Each connection says in the log what is not checked. */
static void what_is_not_checked_is_said_at_each_connect(void **state)
{
    static const struct { bool insecure, dates; const char *says; } rows[] = {
        { true, false, "certificate verification of 192.0.2.1:443 is off" },
        { false, true, "checking of certificate dates of 192.0.2.1:443 is off" },
        { true, true, "certificate verification of 192.0.2.1:443 is off" },
        { false, false, "" },
    };
    certs_t ca;
    (void)state;
    certs_make(&ca, NULL, "CN=ca", NULL, CERTS_FROM, CERTS_TO);
    for (size_t i = 0; i < ENSI_COUNT(rows); i++) {
        open_link("192.0.2.1", true, true);
        env.log = on_log;
        t.tls_opts.insecure_skip_verify = rows[i].insecure;
        t.tls_opts.ignore_dates = rows[i].dates;
        t.tls_opts.ca_pem = ensi_slice(ca.pem, strlen(ca.pem));
        for (int times = 0; times < 2; times++) {
            warned[0] = '\0';
            ensi_link_want(&l, 1000);
            ensi_link_up(&l, 0);
            assert_int_equal(l.state, ENSI_LINK_RUN);
            if (rows[i].says[0]) assert_non_null(strstr(warned, rows[i].says));
            else assert_string_equal(warned, "");
            ensi_link_down(&l);
        }
        close_link();
    }
    certs_free(&ca);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_buffers_are_wiped_before_they_are_given_back),
        cmocka_unit_test(what_nghttp2_gives_back_is_wiped),
        cmocka_unit_test(legal_moves_move_and_all_others_leave_the_state),
        cmocka_unit_test(calls_in_a_wrong_state_change_nothing),
        cmocka_unit_test(a_name_is_resolved_and_an_address_is_dialed),
        cmocka_unit_test(the_families_take_turns),
        cmocka_unit_test(what_worked_the_last_time_goes_first),
        cmocka_unit_test(any_answer_is_ordered_by_these_rules),
        cmocka_unit_test(the_first_reason_stands),
        cmocka_unit_test(each_address_is_tried_once_without_a_backoff),
        cmocka_unit_test(no_address_that_can_be_connected_ends_the_round),
        cmocka_unit_test(a_mute_address_gets_a_share_of_the_round),
        cmocka_unit_test(a_connection_that_we_end_leaves_the_round_as_it_is),
        cmocka_unit_test(no_wait_is_longer_than_the_outage_so_far),
        cmocka_unit_test(only_failures_count_and_make_it_wait),
        cmocka_unit_test(backoff_stays_within_bounds_and_a_seed_replays_it),
        cmocka_unit_test(up_without_memory_hangs_up_and_says_why),
        cmocka_unit_test(tx_is_rewound_only_when_wholly_acked),
        cmocka_unit_test(nothing_can_be_sent_before_it_is_up_or_after),
        cmocka_unit_test(what_was_received_is_taken_whole),
        cmocka_unit_test(a_long_handshake_does_not_fill_rx),
        cmocka_unit_test(garbage_instead_of_a_handshake_is_an_error_with_a_text),
#ifndef ENSIGN_NO_TLS
        cmocka_unit_test(tx_without_room_for_a_record_gives_none),
        cmocka_unit_test(what_is_not_checked_is_said_at_each_connect),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
