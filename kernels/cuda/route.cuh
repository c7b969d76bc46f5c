/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* route.cuh - which columns of a row are the largest. */
#ifndef BR__CUDA_ROUTE_H
#define BR__CUDA_ROUTE_H

#include "host.cuh"

/* NaN counts as largest, as in torch; of equals the first wins.  a is at column i, b at j; a column
 * of -1 loses to every other. */
BR_INLINE bool beats(float a, int i, float b, int j)
{
    if (i < 0 || j < 0)
        return j < 0 && i >= 0;
    const bool a_nan = a != a, b_nan = b != b;
    if (a_nan || b_nan)
        return a_nan && (!b_nan || i < j);
    return a > b || (a == b && i < j);
}

/* The best column of the row at `at` that comes after *last, at column *last_at (-1: none does), in
 * their place; a warp looks. */
BR_INLINE void next_best(const struct rows &x, int64_t at, float *last, int *last_at)
{
    float best = 0;
    int best_at = -1;
    for (int e = (int)(threadIdx.x % 32); e < (int)x.cols; e += 32) {
        const float v = x.read(at + e);
        if ((*last_at < 0 || beats(*last, *last_at, v, e)) && beats(v, e, best, best_at)) {
            best = v;
            best_at = e;
        }
    }
    for (int m = 16; m > 0; m /= 2) {
        const float v = gpu_shfl_xor(best, m);
        const int e = gpu_shfl_xor(best_at, m);
        if (beats(v, e, best, best_at)) {
            best = v;
            best_at = e;
        }
    }
    *last = best;
    *last_at = best_at;
}

#endif
