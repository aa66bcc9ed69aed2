/* heap.h - an alloc hook that counts, for the programs that measure */
#ifndef HEAP_H
#define HEAP_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct heap_t {
    size_t live, peak;
    uint64_t calls;
} heap_t;

typedef union block_t { size_t size; long double align_a; void *align_b; } block_t;

/* `user` is a heap_t. */
static void *heap_realloc(void *user, void *old, size_t size)
{
    heap_t *heap = (heap_t *)user;
    block_t *block = old ? (block_t *)old - 1 : NULL;
    size_t was = block ? block->size : 0;

    heap->calls++;
    if (size == 0) {
        heap->live -= was;
        free(block);
        return NULL;
    }
    block = (block_t *)realloc(block, sizeof *block + size);
    if (!block) return NULL;
    block->size = size;
    heap->live += size - was;
    if (heap->live > heap->peak) heap->peak = heap->live;
    return block + 1;
}

#endif
