/* peaks.c - the ceilings of this machine, measured: what speeds are compared with.
 *
 * Other processes may take part of the machine at any moment, so each ceiling is the best of
 * several short runs. */
#include "cpu.h"
#include <string.h>
#include <sys/mman.h>
#include <time.h>

struct peak {
    uint64_t needs;
    const char *name;
    float (*read)(const void *p, size_t n);
    double (*f32)(int64_t turns);
    double (*rounded)(int64_t turns); /* products of bfloat16; NULL: f32 is as good */
};

#define PEAKS(tier)                                                                                \
    float br__peak_read_##tier(const void *p, size_t n);                                           \
    double br__peak_f32_##tier(int64_t turns);
PEAKS(scalar)
#if defined(__x86_64__)
PEAKS(avx2)
PEAKS(avx512)
double br__peak_rounded_avx512_bf16(int64_t turns);
double br__peak_rounded_amx(int64_t turns);
#elif defined(__aarch64__)
PEAKS(neon)
#endif

/* Fastest first. */
static const struct peak peaks[] = {
#if defined(__x86_64__)
    {BR__CPU_AMX, "amx", br__peak_read_avx512, br__peak_f32_avx512, br__peak_rounded_amx},
    {BR__CPU_AVX512_BF16, "avx512_bf16", br__peak_read_avx512, br__peak_f32_avx512,
     br__peak_rounded_avx512_bf16},
    {BR__CPU_AVX512, "avx512", br__peak_read_avx512, br__peak_f32_avx512, NULL},
    {BR__CPU_AVX2, "avx2", br__peak_read_avx2, br__peak_f32_avx2, NULL},
#elif defined(__aarch64__)
    {BR__CPU_NEON, "neon", br__peak_read_neon, br__peak_f32_neon, NULL},
#endif
    {0, "scalar", br__peak_read_scalar, br__peak_f32_scalar, NULL},
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct measure {
    const struct peak *peak;
    const char *buf;
    size_t n; /* bytes for each lane */
    double (*multiply)(int64_t turns);
    int64_t turns;
    double flops[BR__MAX_LANES];
    _Atomic float sink;
};

static void read_lane(void *arg, struct br_team *team, uint32_t lane)
{
    struct measure *m = arg;
    (void)team;
    m->sink = m->peak->read(m->buf + lane * m->n, m->n);
}

static void multiply_lane(void *arg, struct br_team *team, uint32_t lane)
{
    struct measure *m = arg;
    (void)team;
    m->flops[lane] = m->multiply(m->turns);
}

#define RUNS 64
#define RUN_BYTES ((size_t)32 << 20) /* of each lane */
#define RUN_SECONDS 0.002

/* Each run reads another part, so that none comes from a cache. */
static double best_read(struct br__team *team, struct measure *m, const char *buf, size_t n)
{
    uint32_t lanes = br__team_lanes(team);
    size_t parts = n / lanes / RUN_BYTES;
    double best = 0;
    m->n = parts > 0 ? RUN_BYTES : n / lanes / 4096 * 4096;
    for (size_t i = 0; i < RUNS; i++) {
        m->buf = buf + (parts > 0 ? i % parts * lanes * m->n : 0);
        double begin = now();
        br__team_run(team, read_lane, m);
        double rate = (double)m->n * lanes / (now() - begin);
        best = rate > best ? rate : best;
    }
    return best;
}

static double best_multiply(struct br__team *team, struct measure *m, double (*fn)(int64_t))
{
    double best = 0;
    m->multiply = fn;
    m->turns = 1000;
    for (int i = 0; i < RUNS; i++) {
        double begin = now(), flops = 0;
        br__team_run(team, multiply_lane, m);
        double seconds = now() - begin;
        for (uint32_t l = 0; l < br__team_lanes(team); l++)
            flops += m->flops[l];
        if (seconds < RUN_SECONDS)
            m->turns *= 2;
        best = flops / seconds > best ? flops / seconds : best;
    }
    return best;
}

int br__cpu_peaks(struct br__team *team, uint64_t features, const void *buf, size_t n,
                  struct br_peaks *out, struct br_err *err)
{
    const size_t own = (size_t)512 << 20;
    struct measure m = {.peak = peaks};
    void *mapped = NULL;
    while (m.peak->needs & ~features)
        m.peak++;
    if (!buf) {
        mapped = mmap(NULL, own, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped == MAP_FAILED)
            return br_fail(err, BR_E_NOMEM, "no memory for a buffer of %zu bytes to read", own);
        madvise(mapped, own, MADV_HUGEPAGE);
        memset(mapped, 1, own);
        buf = mapped;
        n = own;
    }
    memset(out, 0, sizeof *out);
    out->read_bytes = best_read(team, &m, buf, n);
    out->f32_flops = best_multiply(team, &m, m.peak->f32);
    out->matmul_flops = out->f32_flops;
    if (m.peak->rounded)
        out->matmul_flops = best_multiply(team, &m, m.peak->rounded);
    memcpy(out->tier, m.peak->name, strlen(m.peak->name));
    if (mapped)
        munmap(mapped, own);
    return BR_OK;
}
