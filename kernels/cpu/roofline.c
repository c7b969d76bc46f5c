/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* roofline.c - the ceilings of this machine, measured: what speeds are compared with.
 *
 * Other work shares memory and clocks, so a ceiling is the median of several runs, each about as
 * long as what is compared with it: the best of many short bursts is a speed that nothing sustains.
 */
#include "cpu.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

struct ceiling {
    uint64_t needs;
    const char *name;
    float (*read[2])(const void *p, size_t n); /* without and with prefetch: the machine decides */
    double (*f32)(int64_t turns);
    double (*rounded)(int64_t turns); /* products of bfloat16; NULL: f32 is as good */
};

#define CEILINGS(tier)                                                                             \
    float br__roofline_read_##tier(const void *p, size_t n);                                       \
    float br__roofline_read_asked_##tier(const void *p, size_t n);                                 \
    double br__roofline_f32_##tier(int64_t turns);
CEILINGS(scalar)
#if defined(__x86_64__)
CEILINGS(avx2)
CEILINGS(avx512)
double br__roofline_rounded_avx512_bf16(int64_t turns);
double br__roofline_rounded_amx(int64_t turns);
#elif defined(__aarch64__)
CEILINGS(neon)
#endif

#define READS(tier)                                                                                \
    {                                                                                              \
        br__roofline_read_##tier, br__roofline_read_asked_##tier                                   \
    }
/* Fastest first. */
static const struct ceiling ceilings[] = {
#if defined(__x86_64__)
    {BR__CPU_AMX, "amx", READS(avx512), br__roofline_f32_avx512, br__roofline_rounded_amx},
    {BR__CPU_AVX512_BF16, "avx512_bf16", READS(avx512), br__roofline_f32_avx512,
     br__roofline_rounded_avx512_bf16},
    {BR__CPU_AVX512, "avx512", READS(avx512), br__roofline_f32_avx512, NULL},
    {BR__CPU_AVX2, "avx2", READS(avx2), br__roofline_f32_avx2, NULL},
#elif defined(__aarch64__)
    {BR__CPU_NEON, "neon", READS(neon), br__roofline_f32_neon, NULL},
#endif
    {0, "scalar", READS(scalar), br__roofline_f32_scalar, NULL},
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#define READ_BYTES ((size_t)1 << 20) /* bytes read by one call */

struct measure {
    float (*read)(const void *p, size_t n);
    const char *buf;
    size_t n; /* bytes for each thread, whole pieces */
    double (*multiply)(int64_t turns);
    int64_t turns;
    double flops[BR__MAX_THREADS];
    _Atomic float sink;
};

static void read_thread(void *arg, const struct br_stream *s)
{
    struct measure *m = arg;
    for (size_t at = 0; at < m->n; at += READ_BYTES)
        m->sink = m->read(m->buf + s->thread * m->n + at, READ_BYTES);
}

static void multiply_thread(void *arg, const struct br_stream *s)
{
    struct measure *m = arg;
    m->flops[s->thread] = m->multiply(m->turns);
}

#define RUNS 7
#define RUN_SECONDS 0.01

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static double median(double v[RUNS])
{
    qsort(v, RUNS, sizeof *v, by_value);
    return v[RUNS / 2];
}

static double seconds_of(struct br__team *team,
                         void (*thread_fn)(void *arg, const struct br_stream *s), struct measure *m)
{
    double begin = now();
    br__team_run(team, thread_fn, m);
    return now() - begin;
}

/* Sets m->n so that all threads read n bytes or as many as take a while; 0 if n is too few for
 * that. own: the buffer again if it is to be written first, for pages that nobody wrote are all the
 * same page. */
static void choose_length(struct br__team *team, struct measure *m, size_t n, char *own)
{
    uint32_t threads = br__team_threads(team);
    size_t written = 0;
    for (size_t part = READ_BYTES; part <= n / threads; part *= 2) {
        m->n = part;
        if (own)
            memset(own + written, 1, part * threads - written);
        written = part * threads;
        if (seconds_of(team, read_thread, m) >= RUN_SECONDS)
            return;
    }
}

/* Bytes per second of reading n bytes, far more than a cache holds, by all threads; the faster of
 * both ways. */
static double usual_read(struct br__team *team, struct measure *m, const struct ceiling *ceiling,
                         const char *buf, size_t n, char *own)
{
    uint32_t threads = br__team_threads(team);
    double rate[2][RUNS], usual[2];
    m->buf = buf;
    m->read = ceiling->read[0];
    choose_length(team, m, n, own);
    for (int i = 0; i < 2 * RUNS; i++) {
        m->read = ceiling->read[i & 1];
        rate[i & 1][i / 2] = (double)m->n * threads / seconds_of(team, read_thread, m);
    }
    for (int way = 0; way < 2; way++)
        usual[way] = median(rate[way]);
    return usual[0] > usual[1] ? usual[0] : usual[1];
}

static double multiply_once(struct br__team *team, struct measure *m, double *seconds)
{
    double flops = 0;
    *seconds = seconds_of(team, multiply_thread, m);
    for (uint32_t l = 0; l < br__team_threads(team); l++)
        flops += m->flops[l];
    return flops / *seconds;
}

static double usual_multiply(struct br__team *team, struct measure *m, double (*fn)(int64_t))
{
    double rate[RUNS], seconds = 0;
    m->multiply = fn;
    for (m->turns = 1000; seconds < RUN_SECONDS; m->turns *= 2)
        multiply_once(team, m, &seconds);
    for (int i = 0; i < RUNS; i++)
        rate[i] = multiply_once(team, m, &seconds);
    return median(rate);
}

int br__cpu_roofline(struct br__team *team, uint64_t features, const void *buf, size_t n,
                     struct br_roofline *out, struct br_err *err)
{
    const size_t own = (size_t)512 << 20;
    const struct ceiling *ceiling = ceilings;
    struct measure m = {0};
    void *mapped = NULL;
    while (ceiling->needs & ~features)
        ceiling++;
    if (!buf) {
        mapped = mmap(NULL, own, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped == MAP_FAILED)
            return br_fail(err, BR_E_NOMEM, "no memory for a buffer of %zu bytes to read", own);
        madvise(mapped, own, MADV_HUGEPAGE);
        buf = mapped;
        n = own;
    }
    memset(out, 0, sizeof *out);
    out->read_bytes = usual_read(team, &m, ceiling, buf, n, mapped);
    out->f32_flops = usual_multiply(team, &m, ceiling->f32);
    out->matmul_flops = out->f32_flops;
    if (ceiling->rounded)
        out->matmul_flops = usual_multiply(team, &m, ceiling->rounded);
    memcpy(out->tier, ceiling->name, strlen(ceiling->name));
    if (mapped)
        munmap(mapped, own);
    return BR_OK;
}
