/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tiers.c - the tiers there are, and the one in use. */
#include "cpu.h"
#include <stdlib.h>
#include <string.h>

#define UP_TO_AVX512 (BR__CPU_AVX2 | BR__CPU_AVX512)
#define UP_TO_BF16 (UP_TO_AVX512 | BR__CPU_AVX512_BF16)
const struct br__cpu_tier br__cpu_tiers[] = {
    {"scalar", 0},
    {"avx2", BR__CPU_AVX2},
    {"avx512", UP_TO_AVX512},
    {"avx512_bf16", UP_TO_BF16},
    {"amx", UP_TO_BF16 | BR__CPU_AMX},
    {"neon", BR__CPU_NEON},
};
const size_t br__n_cpu_tiers = BR_COUNTOF(br__cpu_tiers);

static const struct br__cpu_tier *tier_choose(void)
{
    const struct br__cpu_tier *best = &br__cpu_tiers[0];
    const char *want = getenv("BRIDGE_CPU");
    uint64_t have = br__cpu_detect();
    for (size_t i = 0; i < br__n_cpu_tiers; i++) {
        const struct br__cpu_tier *t = &br__cpu_tiers[i];
        if ((t->features & have) != t->features)
            continue;
        best = t;
        if (want && strcmp(t->name, want) == 0)
            break;
    }
    return best;
}

/* Threads that race here all find and store the same answer. */
const struct br__cpu_tier *br__cpu_tier(void)
{
    static const struct br__cpu_tier *_Atomic chosen;
    const struct br__cpu_tier *t = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (!t) {
        t = tier_choose();
        atomic_store_explicit(&chosen, t, memory_order_relaxed);
    }
    return t;
}

const char *br_cpu_tier(void)
{
    return br__cpu_tier()->name;
}
