/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* sum.c - sums of two rows of float32, for what ranks add of each other.
 *
 * What another rank has read or written is not in this core's cache: such a sum waits for memory.
 * The fewer instructions stand for a line of it, the more lines are on their way, so this is as
 * wide as the machine allows.  All forms have the same bits. */
#include "cpu.h"

/* The compiler makes of it what the function's instruction set has. */
typedef float vec __attribute__((vector_size(64), aligned(1), may_alias));

#define SUM_F32(name, target)                                                                      \
    target static void name(float *out, const float *a, const float *b, size_t n)                  \
    {                                                                                              \
        size_t i = 0;                                                                              \
        for (; i + 16 <= n; i += 16)                                                               \
            *(vec *)(out + i) = *(const vec *)(a + i) + *(const vec *)(b + i);                     \
        for (; i < n; i++)                                                                         \
            out[i] = a[i] + b[i];                                                                  \
    }

SUM_F32(sum_f32_any, )
#if defined(__x86_64__)
SUM_F32(sum_f32_avx2, __attribute__((target("avx2"))))
SUM_F32(sum_f32_avx512, __attribute__((target("avx512f"))))
#endif

void br_sum_f32(float *out, const float *a, const float *b, size_t n)
{
#if defined(__x86_64__)
    uint64_t have = br__cpu_tier()->features;
    if (have & BR__CPU_AVX512)
        sum_f32_avx512(out, a, b, n);
    else if (have & BR__CPU_AVX2)
        sum_f32_avx2(out, a, b, n);
    else
#endif
        sum_f32_any(out, a, b, n);
}
