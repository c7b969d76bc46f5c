/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* rope.cuh - cos and sin of rotary embedding. */
#ifndef BR__CUDA_ROPE_H
#define BR__CUDA_ROPE_H

#include "host.cuh"

/* cos and sin of an angle times `by`.  It is reduced to [-pi, pi] in double; cos and sin of its
 * half are their Taylor series (next term below 7e-10), and of the whole by the double-angle
 * formulas: the CPU's own way, off by at most about 3e-7, without the tables of sincosf. */
BR_INLINE void turn_of(float angle, float by, float *cosine, float *sine)
{
    const double turns = rint((double)angle * 0.15915494309189535);
    const float h = (float)(0.5 * (double)angle - turns * 3.141592653589793), h2 = h * h;
    float s = 1.f / 6227020800.f;
    s = fmaf(s, h2, -1.f / 39916800);
    s = fmaf(s, h2, 1.f / 362880);
    s = fmaf(s, h2, -1.f / 5040);
    s = fmaf(s, h2, 1.f / 120);
    s = fmaf(s, h2, -1.f / 6);
    s = fmaf(s * h2, h, h);
    float q = -1.f / 87178291200.f;
    q = fmaf(q, h2, 1.f / 479001600);
    q = fmaf(q, h2, -1.f / 3628800);
    q = fmaf(q, h2, 1.f / 40320);
    q = fmaf(q, h2, -1.f / 720);
    q = fmaf(q, h2, 1.f / 24);
    q = fmaf(q, h2, -0.5f);
    q = fmaf(q, h2, 1.f);
    const float twice = 2 * by * s;
    *sine = twice * q;
    *cosine = by - twice * s;
}

#endif
