/* The manual's table of memory: the bounds of three settings, as ensign.h prints them. */
#define ENSIGN_LINK_BUFFER_BYTES 33000
#define ENSIGN_TOKEN_BYTES 2048
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

enum { TINY, DEFAULT, LARGE, SETTINGS };
enum { KIB = 1024, MIB = 1024 * 1024 };

typedef struct setting_t {
    ensign_desc_t client;
    ensign_publisher_desc_t publisher;
    ensign_subscription_desc_t subscription;
    ensign_query_desc_t query;
    ensign_call_desc_t call;
} setting_t;

static setting_t settings[SETTINGS];

static void set_tiny(setting_t *s)
{
    s->client.max_handles = 8;
    s->client.topic_cache = ENSIGN_OFF;
    s->client.max_header_bytes = s->client.max_answer_bytes = 4096;
    s->publisher.buffer_bytes = s->publisher.max_event_bytes = 4096;
    s->publisher.window_bytes = s->publisher.max_reply_bytes = 4096;
    s->publisher.max_in_flight = s->subscription.max_unacked = 64;
    s->subscription.window_bytes = s->query.window_bytes = 4096;
    s->subscription.max_event_bytes = s->query.max_event_bytes = 8192;
    s->call.window_bytes = s->call.send_buffer_bytes = 4096;
    s->call.max_message_bytes = s->call.max_send_bytes = 4096;
    s->call.max_metadata_bytes = 1024;
}

static void set_large(setting_t *s)
{
    s->client.max_handles = 65000;
    s->client.topic_cache = 4096;
    s->client.max_answer_bytes = 64 * MIB;
    s->publisher.buffer_bytes = 64 * MIB;
    s->publisher.window_bytes = s->subscription.window_bytes = s->query.window_bytes = 4 * MIB;
    s->publisher.max_reply_bytes = s->subscription.max_event_bytes = s->query.max_event_bytes = 16 * MIB;
    s->publisher.max_in_flight = 16383;
    s->subscription.max_unacked = 1 << 20;
    s->call.window_bytes = s->call.send_buffer_bytes = 4 * MIB;
    s->call.max_message_bytes = s->call.max_send_bytes = 64 * MIB;
    s->call.max_metadata_bytes = 64 * KIB;
}

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < SETTINGS; i++) {
        settings[i].client.client_id = "x"; /* so that there is an auth link */
        settings[i].query.sql = "SELECT * FROM weather";
        settings[i].call.method = "/package.Service/Method";
    }
    set_tiny(&settings[TINY]);
    set_large(&settings[LARGE]);
    return 0;
}

/* This file's macros are the tiny ones; the other columns are those of the default macros. */
static size_t bound_client(int i)
{
    size_t links = 4 * (size_t)(65536 - ENSIGN_LINK_BUFFER_BYTES);
    size_t tokens = 7 * (size_t)(8192 - ENSIGN_TOKEN_BYTES);
    return ensign_memory_bound(&settings[i].client) + (i == TINY ? 0 : links + tokens);
}

static size_t bound_publisher(int i)    { return ensign_publisher_memory_bound(&settings[i].publisher); }
static size_t bound_subscription(int i) { return ensign_subscription_memory_bound(&settings[i].subscription); }
static size_t bound_query(int i)        { return ensign_query_memory_bound(&settings[i].query); }
static size_t bound_request(int i)      { return ensign_request_memory_bound(&settings[i].client); }
static size_t bound_call(int i)         { return ensign_call_memory_bound(&settings[i].call); }

static const struct { const char *name; size_t (*bound)(int i); } rows[] = {
    { "ensign_memory_bound", bound_client },
    { "ensign_publisher_memory_bound", bound_publisher },
    { "ensign_subscription_memory_bound", bound_subscription },
    { "ensign_query_memory_bound", bound_query },
    { "ensign_request_memory_bound", bound_request },
    { "ensign_call_memory_bound", bound_call },
};

/* Rounded up: it is the most. */
static void size_text(char *out, size_t cap, size_t bytes)
{
    if (bytes <= MIB) snprintf(out, cap, "%lu KiB", (unsigned long)((bytes + KIB - 1) / KIB));
    else snprintf(out, cap, "%lu MiB", (unsigned long)((bytes + MIB - 1) / MIB));
}

static bool manual_has(const char *row)
{
    char line[200];
    bool found = false;
    FILE *f = fopen("ensign.h", "r");
    assert_non_null(f);
    while (!found && fgets(line, sizeof line, f)) found = strncmp(line, row, strlen(row)) == 0;
    fclose(f);
    return found;
}

static void the_table_is_true(void **state)
{
    (void)state;
    if (sizeof(void *) != 8) skip(); /* its figures are those of 64 bits */
    for (size_t i = 0; i < ENSI_COUNT(rows); i++) {
        char cell[SETTINGS][32], row[200];
        for (int k = 0; k < SETTINGS; k++) size_text(cell[k], sizeof cell[k], rows[i].bound(k));
        snprintf(row, sizeof row, "        %-34s %-10s %-10s %s", rows[i].name, cell[TINY], cell[DEFAULT],
                 cell[LARGE]);
        if (!manual_has(row)) fail_msg("the manual's table should have the row:\n%s", row);
    }
}

/* What small settings are for: a device with half a megabyte. It has no room for a second connection. */
static void tiny_is_tiny(void **state)
{
    size_t second = ensi_h2_memory(4096) + 2 * (size_t)ENSIGN_LINK_BUFFER_BYTES + 2 * (size_t)ENSI_RECORD_BYTES;
    size_t sum = bound_client(TINY) + bound_publisher(TINY) + bound_subscription(TINY);
    (void)state;
    assert_true(sum - second < 600 * KIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_true),
        cmocka_unit_test(tiny_is_tiny),
    };
    return cmocka_run_group_tests_name("memory", tests, set_up, NULL);
}
