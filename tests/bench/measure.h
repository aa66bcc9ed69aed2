/* measure.h - what the C and C++ clients of the bench measure themselves by, and the line of JSON that they
 * print
 *
 * The first tenth of the events warms up: after it every buffer has its size. What is told is the CPU time of
 * the process, user and system, and the time on the clock, both from there to the last event; the highest
 * resident set from the start of the process; and percentiles of latencies, where there are any. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

typedef struct measure_t {
    uint64_t total, warm, done;     /* events; `warm` of them are not measured */
    uint64_t cpu, clock;            /* ns, when those were through */
    uint64_t *sent, *took;          /* ns, of each event; NULL: latencies are not asked for */
} measure_t;

static inline uint64_t measure_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static inline uint64_t measure_cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000 +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
}

static inline long measure_status(const char *key) /* of /proc/self/status, kB */
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long kb = 0;

    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0) kb = strtol(line + strlen(key) + 1, NULL, 10);
    if (f) fclose(f);
    return kb;
}

static inline void measure_begin(measure_t *m, uint64_t total, int latencies)
{
    memset(m, 0, sizeof *m);
    m->total = total;
    m->warm = total / 10;
    m->cpu = measure_cpu();
    m->clock = measure_clock();
    if (!latencies) return;
    m->sent = (uint64_t *)calloc((size_t)total, sizeof *m->sent);
    m->took = (uint64_t *)calloc((size_t)total, sizeof *m->took);
    if (!m->sent || !m->took) exit(1);
}

/* One more event has been answered, or received. */
static inline void measure_done(measure_t *m)
{
    if (m->took) m->took[m->done] = measure_clock() - m->sent[m->done];
    if (++m->done != m->warm) return;
    m->cpu = measure_cpu();
    m->clock = measure_clock();
}

static inline int measure_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static inline double measure_permille(const measure_t *m, uint64_t permille) /* us */
{
    uint64_t n = m->total - m->warm;
    return 1e-3 * (double)m->took[m->warm + (n * permille / 1000 < n ? n * permille / 1000 : n - 1)];
}

static inline void measure_print(measure_t *m)
{
    double n = (double)(m->total - m->warm);
    double cpu = (double)(measure_cpu() - m->cpu), clock = (double)(measure_clock() - m->clock);

    printf("{\"cpu_ns\": %.1f, \"events_s\": %.0f, \"peak_kb\": %ld", cpu / n, 1e9 * n / clock,
           measure_status("VmHWM"));
    if (m->took) {
        qsort(m->took + m->warm, (size_t)(m->total - m->warm), sizeof *m->took, measure_compare);
        printf(", \"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f", measure_permille(m, 500),
               measure_permille(m, 990), measure_permille(m, 999));
    }
    printf("}\n");
    fflush(stdout);
    free(m->sent);
    free(m->took);
}
#endif
