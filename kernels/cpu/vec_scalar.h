/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* vec_scalar.h - vec.h of one lane, for any machine: what the other tiers are compared with. */
#ifndef BR__VEC_SCALAR_H
#define BR__VEC_SCALAR_H

#include <math.h>

#define VN 1
typedef float vf;

BR__INLINE vf v_load(const float *p)
{
    return *p;
}
BR__INLINE void v_store(float *p, vf v)
{
    *p = v;
}
BR__INLINE vf v_load_n(const float *p, int n)
{
    return n > 0 ? *p : 0;
}
BR__INLINE void v_store_n(float *p, vf v, int n)
{
    if (n > 0)
        *p = v;
}
BR__INLINE vf v_load_bf16(const uint16_t *p)
{
    return s_bf16(*p);
}
BR__INLINE vf v_load_f16(const uint16_t *p)
{
    return s_f16(*p);
}
BR__INLINE vf v_load_bf16_n(const uint16_t *p, int n)
{
    return n > 0 ? s_bf16(*p) : 0;
}
BR__INLINE vf v_load_f16_n(const uint16_t *p, int n)
{
    return n > 0 ? s_f16(*p) : 0;
}
BR__INLINE void v_store_bf16(uint16_t *p, vf v)
{
    *p = s_to_bf16(v);
}
BR__INLINE void v_store_bf16_n(uint16_t *p, vf v, int n)
{
    if (n > 0)
        *p = s_to_bf16(v);
}
BR__INLINE vf v_set1(float x)
{
    return x;
}
BR__INLINE vf v_zero(void)
{
    return 0;
}
BR__INLINE vf v_add(vf a, vf b)
{
    return a + b;
}
BR__INLINE vf v_sub(vf a, vf b)
{
    return a - b;
}
BR__INLINE vf v_mul(vf a, vf b)
{
    return a * b;
}
BR__INLINE vf v_div(vf a, vf b)
{
    return a / b;
}
BR__INLINE vf v_max(vf a, vf b)
{
    return a > b ? a : b;
}
BR__INLINE vf v_min(vf a, vf b)
{
    return a < b ? a : b;
}
BR__INLINE vf v_sqrt(vf a)
{
    return sqrtf(a);
}
BR__INLINE vf v_abs(vf a)
{
    return fabsf(a);
}
/* A machine without a fused multiply-add would call a slow library function: two roundings will do
 * there, for the only use of a single one is accuracy. */
BR__INLINE vf v_fma(vf a, vf b, vf c)
{
#ifdef FP_FAST_FMAF
    return fmaf(a, b, c);
#else
    return a * b + c;
#endif
}
BR__INLINE vf v_pick_gt(vf a, vf b, vf x, vf y)
{
    return a > b ? x : y;
}
BR__INLINE vf v_pow2(vf n)
{
    uint32_t u = (uint32_t)((int32_t)n + 127) << 23;
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}
BR__INLINE float v_sum(vf v)
{
    return v;
}
BR__INLINE float v_hmax(vf v)
{
    return v;
}
BR__INLINE void v_transpose(vf r[VN])
{
    (void)r;
}
BR__INLINE void v_load_transposed(vf r[VN], const char *p, int64_t ld)
{
    (void)ld;
    memcpy(r, p, sizeof *r);
}
BR__INLINE vf v_low_bf16(vf pairs)
{
    uint32_t u;
    memcpy(&u, &pairs, sizeof u);
    return s_bf16((uint16_t)u);
}
BR__INLINE vf v_high_bf16(vf pairs)
{
    uint32_t u;
    memcpy(&u, &pairs, sizeof u);
    return s_bf16((uint16_t)(u >> 16));
}
BR__INLINE vf v_half_bf16(const uint16_t *p, int h)
{
    return s_bf16(p[h]);
}
BR__INLINE void v_split(float *dst, const float *x)
{
    dst[0] = x[0];
    dst[1] = x[1];
}
BR__INLINE void v_sum4(float *out, const vf v[4])
{
    memcpy(out, v, 4 * sizeof *v);
}
BR__INLINE vf v_acc(vf acc, vf a, vf b)
{
    return v_fma(a, b, acc);
}

#endif
