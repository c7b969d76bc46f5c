/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cpu.h - what the files of the CPU backend share: tiers, the thread team, sharing out of work.
 *
 * A tier is an instruction set.  tier_<tier>.c is the only file compiled for it; it includes the
 * files *_impl.h, in which every kernel is written once in terms of vec.h,
 * so that function `name` of kernels.def exists as br__<name>_<tier>.
 *
 * No kernel allocates, fails or prints: shapes were checked when the graph was built. */
#ifndef BR__CPU_H
#define BR__CPU_H

#include <bridge/backend.h>
#include <stdatomic.h>

static inline int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t max_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- detect.c, tiers.c: what this machine has, and which of it is used ----------------------- */

/* Feature bits of the device.  A tier has its own bit and those of the tiers it builds on. */
enum br__cpu_feature {
    BR__CPU_AVX2 = 1,        /* AVX2, FMA, F16C, POPCNT */
    BR__CPU_AVX512 = 2,      /* AVX-512 F, BW, DQ, VL */
    BR__CPU_AVX512_BF16 = 4, /* vdpbf16ps */
    BR__CPU_AMX = 8,         /* tiles, tdpbf16ps, and the kernel's permission to use them */
    BR__CPU_NEON = 16
};

struct br__cpu_tier {
    const char *name; /* as BRIDGE_CPU spells it */
    uint64_t features;
};
/* Slowest first; the first needs nothing. */
extern const struct br__cpu_tier br__cpu_tiers[];
extern const size_t br__n_cpu_tiers;
/* Features of the CPU that the operating system lets a process use. */
uint64_t br__cpu_detect(void);
/* The tier in use: the one that BRIDGE_CPU names if this machine has it, else the best.  Decided
 * at the first call. */
const struct br__cpu_tier *br__cpu_tier(void);

/* ---- team.c: the threads of a device --------------------------------------------------------- */

#define BR__MAX_THREADS 256
struct br__team;
/* n >= 1 threads: the thread that calls br__team_run is thread 0.  NULL: no threads to be had. */
struct br__team *br__team_new(uint32_t n);
void br__team_free(struct br__team *team); /* NULL is fine */
uint32_t br__team_threads(const struct br__team *team);
/* Call fn on every thread; back when all have returned.  One run at a time. */
void br__team_run(struct br__team *team, void (*fn)(void *arg, const struct br_stream *s),
                  void *arg);

/* Static partition of n pieces of work with stealing: each thread takes a contiguous range in
 * order, then pieces of threads that are not done.  Contiguous ranges keep the hardware prefetcher
 * useful; stealing evens out cores that are busy with other processes.  Every thread must call it,
 * with the same n; between two partitions in one kernel there must be a br__sync.
 *     struct br__share s = br__share(c, n);
 *     for (int64_t i; br__share_next(&s, &i);) */
struct br__share {
    struct br__team *team;
    int64_t n;
    uint32_t thread, loop, helped;
};
struct br__share br__share(const struct br_call *c, int64_t n);
int br__share_next(struct br__share *s, int64_t *i);

static inline void br__sync(const struct br_call *c)
{
    if (c->stream->n_threads > 1)
        c->stream->sync(c->stream);
}

/* This thread's even part of 0..n, in multiples of `unit` but for the last. */
static inline void br__thread_range(const struct br_call *c, int64_t n, int64_t unit, int64_t *from,
                                    int64_t *to)
{
    int64_t units = (n + unit - 1) / unit, threads = c->stream->n_threads;
    int64_t thread = c->stream->thread, end = units * (thread + 1) / threads * unit;
    *from = units * thread / threads * unit;
    *to = min_of(end, n);
}

/* ---- roofline.c ------------------------------------------------------------------------------ */

/* roofline of the descriptor. */
int br__cpu_roofline(struct br__team *team, uint64_t features, const void *buf, size_t n,
                     struct br_roofline *out, struct br_err *err);

/* Bytes of an element of a stored weight. */
static inline int64_t br__float_size(uint32_t dtype)
{
    return dtype == BR_F32 ? 4 : 2;
}

/* ---- names ----------------------------------------------------------------------------------- */

#define BR__CAT3_(a, b, c) a##b##c
#define BR__CAT3(a, b, c) BR__CAT3_(a, b, c)
/* br__<name>_<tier> of the tier being compiled. */
#define BR__FN(name) BR__CAT3(br__##name, _, TIER)
/* Prototypes of a row of kernels.def; _S: with the function that says how much scratch it needs. */
#define BR__KERNEL(fn) void BR__FN(fn)(const struct br_call *c);
#define BR__KERNEL_S(fn) BR__KERNEL(fn) size_t BR__FN(fn##_scratch)(const struct br_call *c);

#endif
