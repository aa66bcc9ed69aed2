/* query.c - fetch stored events by EnSQL: one row, three at a time, or all of them
 * Shows   ensign_query_open as a cursor: a row with each pull; ensign_event_copy to keep rows; no row at all
 * Run     build/examples/query many 'SELECT * FROM weather OFFSET 2 LIMIT 7'     (or one, or all)
 * Prints  the rows, and on standard error how many; exit 0 with rows, 3 with none, 1 on an error
 * Next    topics.c */
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    ensign_t      *c;
    ensign_query_t q;
    bool           ended;
    ensign_error_t error; /* why it has ended; code 0: there are no more rows */
} cursor_t;

typedef struct { void *block; ensign_event_t *event; } row_t; /* a row to keep; the event lies in the block */

static int fail(const char *what, const char *text)
{
    fprintf(stderr, "query: %s: %s\n", what, text);
    return 1;
}

static bool end_of(cursor_t *u, const ensign_error_t *e)
{
    if (e) u->error = *e; /* a copy: what a notice points at goes with it */
    return u->ended = true, false;
}

/* The next row; it stands until another is fetched. False: there is none, and u->error may say why. */
static bool fetch_one(cursor_t *u, const ensign_event_t **row)
{
    const ensign_notice_t *n;

    while (!u->ended) {
        int rc = ensign_await(u->c, u->q.id, -1, &n);
        if (rc != ENSIGN_OK) return end_of(u, ensign_error(u->c));
        if (n->type == ENSIGN_NOTICE_END) return end_of(u, n->error);
        if (n->type == ENSIGN_NOTICE_WAITING) fail("goes on trying", n->error->text);
        if (n->type == ENSIGN_NOTICE_GAP) fail("a row cannot be read", n->error->text);
        if (n->type == ENSIGN_NOTICE_EVENT) return *row = n->as.event, true;
    }
    return false;
}

/* Up to `max` rows to keep. Fewer come only when there are no more, or on an error. */
static size_t fetch_many(cursor_t *u, row_t *rows, size_t max)
{
    const ensign_event_t *event;
    size_t count = 0;

    while (count < max && fetch_one(u, &event)) {
        row_t *row = &rows[count++];
        size_t size = 0;
        ensign_event_copy(event, NULL, &size, &row->event); /* no room: it tells what it needs */
        row->block = malloc(size);
        if (!row->block) exit(fail("row", "no memory"));
        ensign_event_copy(event, row->block, &size, &row->event);
    }
    return count;
}

static size_t print_row(const ensign_event_t *e)
{
    static char text[65536];

    if (ensign_event_text(e, text, sizeof text) >= 0) puts(text);
    return 1;
}

static size_t print_rows(row_t *rows, size_t count)
{
    printf("-- %u together\n", (unsigned)count);
    for (size_t i = 0; i < count; i++) print_row(rows[i].event), free(rows[i].block);
    return count;
}

static size_t print_all(cursor_t *u)
{
    row_t *rows = NULL;
    size_t count = 0, room = 0;

    while (count == room) { /* the last fetch has given all that was asked for: there may be more */
        room = room ? room * 2 : 64;
        rows = realloc(rows, room * sizeof *rows);
        if (!rows) exit(fail("rows", "no memory"));
        count += fetch_many(u, rows + count, room - count);
    }
    if (count > 0) print_rows(rows, count);
    free(rows);
    return count;
}

int main(int argc, char **argv)
{
    static ensign_desc_t d; /* zeroed: every field has its default */
    static ensign_query_desc_t qd;
    static cursor_t u;
    const ensign_event_t *event;
    ensign_error_t why;
    row_t three[3];
    size_t count = 0, now;
    char how = argc == 3 ? argv[1][0] : 0;

    if (how != 'o' && how != 'm' && how != 'a') return fprintf(stderr, "usage: query one|many|all SQL\n"), 2;
    if (ensign_desc_env(&d, &why) != ENSIGN_OK) return fail("environment", why.text);
    if (ensign_create(&d, &u.c, &why) != ENSIGN_OK) return fail("create", why.text);
    qd.sql = argv[2];
    u.q = ensign_query_open(u.c, &qd);
    if (u.q.id == 0) return fail("query", ensign_error(u.c)->text);
    if (how == 'o') count = fetch_one(&u, &event) ? print_row(event) : 0;
    if (how == 'm') while ((now = fetch_many(&u, three, 3)) > 0) count += print_rows(three, now);
    if (how == 'a') count = print_all(&u);
    if (u.error.code) fail("ended", u.error.text);
    else fprintf(stderr, "query: %u rows\n", (unsigned)count);
    ensign_destroy(u.c); /* the rest of the rows goes with it; ensign_forget closes the cursor alone */
    return u.error.code ? 1 : count ? 0 : 3;
}
