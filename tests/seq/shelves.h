/* shelves.h - a server that stores events and keeps no places, as Ensign 0.12: EnSQL by OFFSET and LIMIT, live
 * streams that bring what is published while they stand
 *
 * An event is its number, from 1 on over all topics, which is in its RLID and in its data. */
#ifndef SHELVES_H
#define SHELVES_H

#include "service.h"

enum { SHELVES = 80 };

typedef struct shelf_t {            /* a topic */
    const char *name;
    uint8_t id[16];
    uint64_t *numbers;
    size_t count, cap;
} shelf_t;

typedef struct shelves_t {
    shelf_t shelf[SHELVES];
    unsigned count;
    uint64_t newest;
    unsigned generation;
    /* streams */
    unsigned asked, streams;        /* queries, Subscribe streams that were ready */
    bool down;                      /* Subscribe is not answered */
    uint64_t at_ready, behind_ready;/* so many events are published just before ready, and behind it */
    bool twice;                     /* those before are delivered by the stream, too */
    int refuse;                     /* status of each query; 0: none */
    unsigned refusals;              /* of them that are left */
    bool mute;                      /* queries are not answered */
    unsigned nonsense, nonsenses;   /* a kind of answer that no server should give, and to how many queries */
    uint64_t large;                 /* the number of an event of `large_bytes` */
    size_t large_bytes;
    uint64_t odd;                   /* the number of a row that is no Event */
} shelves_t;

static shelves_t shelves;

static UNUSED void shelf_id(shelf_t *s, unsigned i)
{
    memset(s->id, 0, sizeof s->id);
    memcpy(s->id, "topic", 5);
    s->id[14] = (uint8_t)shelves.generation++;
    s->id[15] = (uint8_t)(i + 1);
}

static UNUSED unsigned shelf_make(const char *name)
{
    unsigned i = shelves.count++;
    assert_true(i < SHELVES);
    shelves.shelf[i].name = name;
    shelf_id(&shelves.shelf[i], i);
    return i;
}

/* Destroyed, and made anew. */
static UNUSED void shelf_make_anew(unsigned i)
{
    shelves.shelf[i].count = 0;
    shelf_id(&shelves.shelf[i], i);
}

static UNUSED void shelves_reset(void)
{
    unsigned i;
    for (i = 0; i < shelves.count; i++) free(shelves.shelf[i].numbers);
    memset(&shelves, 0, sizeof shelves);
}

static UNUSED void shelf_wrapper(bytes_t *wrap, const shelf_t *s, uint64_t number, bool row)
{
    static const uint8_t zeros[4096];
    bytes_t event = {0}, data = {0};
    uint8_t id[10] = { 1, 2 };
    be64_put(id + 2, number);
    bytes_add(&data, id + 2, 8);
    if (number == shelves.large) {
        size_t n;
        for (n = 0; n < shelves.large_bytes; n += sizeof zeros) bytes_add(&data, zeros, sizeof zeros);
    }
    enc_bytes(&event, 2, data.p, data.len);
    bytes_free(&data);
    enc_bytes(wrap, 1, id, sizeof id);
    enc_bytes(wrap, 2, s->id, sizeof s->id);
    if (number == shelves.odd) bytes_free(&event), enc_bytes(wrap, 9, "\xff\xff\xff", 3);
    else enc_message(wrap, 9, &event);
    if (!row) enc_time(wrap, 15, 1600000000 + (int64_t)number, 0);
}

static UNUSED void shelf_deliver(stream_t *s, const shelf_t *shelf, uint64_t number)
{
    bytes_t wrap = {0}, reply = {0};
    shelf_wrapper(&wrap, shelf, number, false);
    enc_message(&reply, 1, &wrap);
    peer_send(s, &reply);
}

/* Is it ready, with the topic i? Its topics are those of then: `stage` is their number, and 1. */
static UNUSED bool shelf_stands(const stream_t *s, unsigned i)
{
    return s->stage > (int)i + 1 && !s->closed && !s->reset && !s->done && s->conn->alive;
}

/* An event for the topic i; each stream that stands brings it. */
static UNUSED uint64_t shelf_publish(world_t *w, unsigned i)
{
    shelf_t *s = &shelves.shelf[i];
    size_t k;
    if (s->count == s->cap) {
        s->cap = s->cap * 2 + 64;
        s->numbers = (uint64_t *)realloc(s->numbers, s->cap * sizeof *s->numbers);
        if (!s->numbers) abort();
    }
    s->numbers[s->count++] = ++shelves.newest;
    for (k = 0; w && k < w->stream_count; k++)
        if (shelf_stands(w->streams[k], i)) shelf_deliver(w->streams[k], s, shelves.newest);
    return shelves.newest;
}

static UNUSED void shelves_ready(world_t *w, stream_t *s)
{
    bytes_t entry = {0}, ready = {0}, reply = {0};
    uint64_t k, first = shelves.newest;
    unsigned i;
    for (i = 0; i < shelves.count; i++) {
        enc_text(&entry, 1, shelves.shelf[i].name);
        enc_bytes(&entry, 2, shelves.shelf[i].id, 16);
        enc_message(&ready, 3, &entry);
    }
    for (k = 0; k < shelves.at_ready; k++) shelf_publish(w, (unsigned)(k % shelves.count));
    enc_message(&reply, 2, &ready);
    peer_send(s, &reply);
    s->stage = (int)shelves.count + 1;
    shelves.streams++;
    for (k = 0; shelves.twice && k < shelves.at_ready; k++)
        shelf_deliver(s, &shelves.shelf[k % shelves.count], first + k + 1);
    for (k = 0; k < shelves.behind_ready; k++) shelf_publish(w, (unsigned)(k % shelves.count));
}

static UNUSED void shelves_refuse(stream_t *s)
{
    peer_refuse(s, shelves.refuse, "the server says no");
    if (shelves.refusals > 0 && --shelves.refusals == 0) shelves.refuse = 0;
}

enum { NONSENSE = 8 };

/* Bytes that are no message, a message of another kind, one that is cut, one with a flag, a row without an id,
 * the first row of the topic so often, one row again and again, and an end without trailers. */
static UNUSED void shelves_babble(stream_t *s, unsigned kind)
{
    bytes_t row = {0};
    unsigned i;
    switch (kind) {
    case 0: peer_message(s, "\xff\xff\xff", 3); break;
    case 1: peer_message(s, "\x0a\x02me", 4); break;
    case 2: peer_raw(s, "\0\0\0\0\x50half", 9); break;
    case 3:
        peer_prefix(s, 1, 2);
        peer_raw(s, "ab", 2);
        break;
    case 4:
        enc_bytes(&row, 2, shelves.shelf[0].id, 16);
        peer_send(s, &row);
        break;
    case 5:
    case 6:
        for (i = 0; i < 200; i++) {
            shelf_wrapper(&row, &shelves.shelf[0], kind == 5 ? 1 : 1 + i % 2, true);
            peer_send(s, &row);
        }
        break;
    default:
        peer_open(s);
        peer_finish_bare(s);
        return;
    }
    peer_finish(s, 0, NULL, NULL);
}

/* "SELECT * FROM topic OFFSET n", maybe with " LIMIT m". */
static UNUSED void shelves_query(world_t *w, stream_t *s, ensign_slice_t m)
{
    ensign_slice_t sql = { NULL, 0 };
    char text[600], name[520], tail[32] = "";
    unsigned long long offset = 0, limit = UINT64_MAX, at;
    unsigned i;
    assert_true(dec_field(m, 1, &sql) && sql.len < sizeof text);
    assert_int_equal(dec_uint(m, 3), 1);
    memcpy(text, sql.ptr, sql.len);
    text[sql.len] = '\0';
    if (sscanf(text, "SELECT * FROM %519s OFFSET %llu%31[^\n]", name, &offset, tail) < 2)
        world_fail(w, "no query of a catch-up: %.500s", text);
    if (tail[0] && sscanf(tail, " LIMIT %llu", &limit) != 1)
        world_fail(w, "no query of a catch-up: %.500s", text);
    shelves.asked++;
    if (shelves.mute) return;
    if (shelves.refuse) {
        shelves_refuse(s);
        return;
    }
    if (shelves.nonsenses > 0) {
        shelves.nonsenses--;
        shelves_babble(s, shelves.nonsense);
        return;
    }
    for (i = 0; i < shelves.count && strcmp(shelves.shelf[i].name, name) != 0; i++) {}
    if (i == shelves.count) {
        peer_refuse(s, ENSIGN_GRPC_INVALID_ARGUMENT, "unknown topic in query");
        return;
    }
    for (at = offset; at < shelves.shelf[i].count && at - offset < limit; at++) {
        bytes_t row = {0};
        shelf_wrapper(&row, &shelves.shelf[i], shelves.shelf[i].numbers[at], true);
        peer_send(s, &row);
    }
    peer_finish(s, 0, NULL, NULL);
}

static UNUSED void shelves_message(world_t *w, stream_t *s, ensign_slice_t m)
{
    const char *path = peer_field(s, ":path");
    if (s->done) return;
    if (strstr(path, "/EnSQL")) shelves_query(w, s, m);
    else if (!s->stage && !shelves.down) shelves_ready(w, s);
}

#endif
