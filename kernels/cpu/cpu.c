/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cpu.c - the descriptor of the CPU backend: its kernel table, device, memory.
 *
 * The tables of all tiers are one, fastest first; the device's features say where its rows begin.
 */
#include "cpu.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- the kernel table ------------------------------------------------------------------------ */

#define KERNEL(op, weights, values, fn) BR__KERNEL(fn)
#define KERNEL_S(op, weights, values, fn) BR__KERNEL_S(fn)
#include "tier_tables.h"
#undef KERNEL
#undef KERNEL_S

static const struct br_kernel kernels[] = {
#define KERNEL(op, weights, values, fn) {BR_OP_##op, weights, values, 0, NEEDS, BR__FN(fn), NULL},
#define KERNEL_S(op, weights, values, fn)                                                          \
    {BR_OP_##op, weights, values, 0, NEEDS, BR__FN(fn), BR__FN(fn##_scratch)},
#include "tier_tables.h"
};

/* ---- device ---------------------------------------------------------------------------------- */

struct device {
    struct br__team *team;
    uint64_t features;
};

static int cpu_probe(char *why, size_t size)
{
    if (size > 0)
        why[0] = 0;
    return 1; /* always there, and the last choice */
}

static int open_device(void **device, uint32_t index, uint32_t n_threads, uint64_t *features,
                       struct br_err *err)
{
    (void)index;
    const struct br__cpu_tier *tier = br__cpu_tier();
    const char *want = getenv("BRIDGE_CPU");
    *device = NULL;
    if (want && want[0] && strcmp(want, tier->name) != 0)
        return br_fail(err, BR_E_UNSUPPORTED,
                       "BRIDGE_CPU=%s: this machine does not have that tier; its best is %s", want,
                       tier->name);
    if (n_threads < 1)
        n_threads = 1;
    if (n_threads > BR__MAX_THREADS)
        n_threads = BR__MAX_THREADS;
    struct device *d = calloc(1, sizeof *d);
    if (d)
        d->team = br__team_new(n_threads);
    if (!d || !d->team) {
        free(d);
        return br_fail(err, BR_E_NOMEM, "cannot start %u threads", n_threads);
    }
    d->features = tier->features;
    *device = d;
    *features = d->features;
    return BR_OK;
}

static void close_device(void *device)
{
    struct device *d = device;
    if (!d)
        return;
    br__team_free(d->team);
    free(d);
}

static void cpu_run(void *device, void (*fn)(void *arg, const struct br_stream *s), void *arg)
{
    struct device *d = device;
    br__team_run(d->team, fn, arg);
}

static int measure_roofline(void *device, const void *buf, size_t n, struct br_roofline *out,
                            struct br_err *err)
{
    struct device *d = device;
    return br__cpu_roofline(d->team, d->features, buf, n, out, err);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Before each block, to keep its alignment: how much was mapped. */
struct block {
    size_t mapped; /* 0: from the heap */
    char pad[56];
};
_Static_assert(sizeof(struct block) == 64, "what follows a block header is aligned as it is");

/* Large blocks are pages of their own: they are zero already, and take memory as they are used. */
#define MAP_FROM (256 * 1024)

static void *cpu_alloc(void *device, size_t n)
{
    (void)device;
    if (n > SIZE_MAX / 2)
        return NULL;
    size_t total = (n + sizeof(struct block) + 63) & ~(size_t)63;
    struct block *b;
    if (total < MAP_FROM) {
        b = aligned_alloc(64, total);
        if (!b)
            return NULL;
        memset(b, 0, total);
        return b + 1;
    }
    b = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b == MAP_FAILED)
        return NULL;
    madvise(b, total, MADV_HUGEPAGE);
    b->mapped = total;
    return b + 1;
}

static void free_block(void *device, void *p)
{
    (void)device;
    if (!p)
        return;
    struct block *b = (struct block *)p - 1;
    if (b->mapped)
        munmap(b, b->mapped);
    else
        free(b);
}

static int cpu_copy(void *device, void *dst, const void *src, size_t n, struct br_err *err)
{
    (void)device;
    (void)err;
    if (n > 0)
        memcpy(dst, src, n);
    return BR_OK;
}

/* ---- descriptor ------------------------------------------------------------------------------ */

const struct br_backend *br__cpu_backend(void)
{
    static const struct br_backend self = {
        .struct_size = sizeof self,
        .built_with = BR_VERSION,
        .name = "cpu",
        .flags = BR_BACKEND_HOST,
        .kernels = BR_ROWS(kernels),
        .probe = cpu_probe,
        .open = open_device,
        .close = close_device,
        .alloc = cpu_alloc,
        .free = free_block,
        .upload = cpu_copy,
        .download = cpu_copy,
        .copy = cpu_copy,
        .run = cpu_run,
        .plane = &br__local_plane,
        .roofline = measure_roofline,
    };
    return &self;
}
