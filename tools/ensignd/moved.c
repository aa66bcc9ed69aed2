/* moved.c - see moved.h
 *
 * Holds  the last entries, TAIL_ENTRIES at most, lie in memory; the file has all before them. A run is a
 *        range of entries of one project whose ids rise. */
#include "moved.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define TAIL_ENTRIES 4096u

typedef struct entry_t { rlid_t id; uint8_t offset[8]; } entry_t;       /* big-endian, without padding */
typedef char entry_has_no_padding[sizeof(entry_t) == 18 ? 1 : -1];

typedef struct run_t { ulid_t project; uint64_t from, count; rlid_t first, last; } run_t;

struct moved_t {
    FILE    *file;                      /* NULL: the tail has had room for all */
    entry_t *tail;
    size_t   tail_count;
    uint64_t written;                   /* entries in the file */
    run_t   *runs;
    size_t   run_count, run_cap;
};

static int id_order(const rlid_t *a, const rlid_t *b)
{
    return memcmp(a->b, b->b, sizeof a->b);
}

static bool fail_file(why_t *why)
{
    return fail(why, "a temporary file of the ids cannot be kept: %s; make room in /tmp", strerror(errno));
}

static bool write_tail(moved_t *m, why_t *why)
{
    if (!m->file) m->file = tmpfile();
    if (!m->file || fwrite(m->tail, sizeof *m->tail, m->tail_count, m->file) != m->tail_count ||
        fflush(m->file) != 0)
        return fail_file(why);
    m->written += m->tail_count;
    m->tail_count = 0;
    return true;
}

static bool read_entry(const moved_t *m, uint64_t at, entry_t *out, why_t *why)
{
    if (at >= m->written) {
        *out = m->tail[(size_t)(at - m->written)];
        return true;
    }
    errno = 0;
    return pread(fileno(m->file), out, sizeof *out, (off_t)(at * sizeof *out)) == (ssize_t)sizeof *out ||
           fail_file(why);
}

static void add_run(moved_t *m, const ulid_t *project, const rlid_t *id)
{
    run_t *r;

    if (m->run_count == m->run_cap) {
        m->run_cap = m->run_cap ? 2 * m->run_cap : 16;
        m->runs = x_realloc(m->runs, m->run_cap * sizeof *m->runs);
    }
    r = &m->runs[m->run_count++];
    r->project = *project;
    r->from = m->written + m->tail_count;
    r->count = 0;
    r->first = *id;
}

static bool goes_on(const run_t *r, const ulid_t *project, const rlid_t *id)
{
    return ulid_eq(&r->project, project) && id_order(&r->last, id) < 0;
}

bool moved_put(moved_t *m, const ulid_t *project, const rlid_t *id, uint64_t offset, why_t *why)
{
    entry_t *e;
    run_t *r;

    if (m->tail_count == TAIL_ENTRIES && !write_tail(m, why)) return false;
    if (m->run_count == 0 || !goes_on(&m->runs[m->run_count - 1], project, id)) add_run(m, project, id);
    r = &m->runs[m->run_count - 1];
    r->count++;
    r->last = *id;
    e = &m->tail[m->tail_count++];
    e->id = *id;
    for (size_t i = 0; i < sizeof e->offset; i++) e->offset[i] = (uint8_t)(offset >> (56 - 8 * i) & 0xff);
    return true;
}

static bool find_in(const moved_t *m, const run_t *r, const rlid_t *id, uint64_t *offset, why_t *why)
{
    uint64_t low = r->from, high = r->from + r->count;
    entry_t e;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int order;
        if (!read_entry(m, middle, &e, why)) return false;
        order = id_order(&e.id, id);
        if (order < 0) low = middle + 1;
        else high = middle;
        if (order != 0) continue;
        for (size_t i = 0; i < sizeof e.offset; i++) *offset = *offset << 8 | e.offset[i];
        return true;
    }
    return true;
}

static bool has_in_range(const run_t *r, const ulid_t *project, const rlid_t *id)
{
    return ulid_eq(&r->project, project) && id_order(id, &r->first) >= 0 && id_order(id, &r->last) <= 0;
}

bool moved_find(const moved_t *m, const ulid_t *project, const rlid_t *id, uint64_t *offset, why_t *why)
{
    *offset = 0;
    for (size_t i = m->run_count; i-- > 0 && *offset == 0;) {
        const run_t *r = &m->runs[i];
        if (!has_in_range(r, project, id)) continue;
        if (!find_in(m, r, id, offset, why)) return false;
    }
    return true;
}

moved_t *moved_open(void)
{
    moved_t *m = x_alloc(sizeof *m);

    m->tail = x_alloc(TAIL_ENTRIES * sizeof *m->tail);
    return m;
}

void moved_close(moved_t *m)
{
    if (!m) return;
    if (m->file) fclose(m->file);
    free(m->tail);
    free(m->runs);
    free(m);
}
