/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* norm.cuh - sums over a row by a team of threads, and the RMS norm made of them. */
#ifndef BR__CUDA_NORM_H
#define BR__CUDA_NORM_H

#include "host.cuh"

/* This thread's columns of row r. */
#define FOR_EACH_COLUMN(i, cols) for (uint32_t i = team<W>::rank(); i < (cols); i += team<W>::size)

template <int W>
BR_INLINE float dot(const struct rows &a, int64_t a_at, const struct rows &b, int64_t b_at)
{
    float sum = 0;
    FOR_EACH_COLUMN(i, a.cols)
    sum = fmaf(a.read(a_at + i), b.read(b_at + i), sum);
    return team<W>::sum(sum);
}

template <int W> BR_INLINE float inv_rms(const struct rows &x, int64_t at, float eps)
{
    return 1.f / sqrtf(dot<W>(x, at, x, at) / (float)x.cols + eps);
}

#endif
