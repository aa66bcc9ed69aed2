/* mallocs.c - counts what a program takes from malloc: LD_PRELOAD=mallocs.so PROGRAM...
 *
 * At the end it prints "mallocs N bytes N" on standard error: calls of malloc, calloc, realloc and those that
 * align, and the bytes that they asked for. For glibc, whose own functions it calls. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t n);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t align, size_t n);

static atomic_ulong calls, bytes;

static void count(size_t n)
{
    atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&bytes, n, memory_order_relaxed);
}

void *malloc(size_t n)
{
    count(n);
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    count(n * size);
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    count(n);
    return __libc_realloc(p, n);
}

void *memalign(size_t align, size_t n)
{
    count(n);
    return __libc_memalign(align, n);
}

void *aligned_alloc(size_t align, size_t n)
{
    return memalign(align, n);
}

int posix_memalign(void **p, size_t align, size_t n)
{
    *p = memalign(align, n);
    return *p ? 0 : ENOMEM;
}

/* The clients by gRPC end by _exit, which runs no destructor. */
static void tell(void)
{
    static atomic_flag told = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&told))
        fprintf(stderr, "mallocs %lu bytes %lu\n", atomic_load(&calls), atomic_load(&bytes));
}

__attribute__((destructor)) static void at_end(void)
{
    tell();
}

void _exit(int status)
{
    tell();
    _Exit(status);
}
