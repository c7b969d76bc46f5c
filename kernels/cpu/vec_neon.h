/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* vec_neon.h - vec.h on the Advanced SIMD that every 64-bit ARM has. */
#ifndef BR__VEC_NEON_H
#define BR__VEC_NEON_H

#include <arm_neon.h>

#define VN 4
typedef float32x4_t vf;

BR__INLINE vf v_load(const float *p)
{
    return vld1q_f32(p);
}
BR__INLINE void v_store(float *p, vf v)
{
    vst1q_f32(p, v);
}
BR__INLINE vf v_load_n(const float *p, int n)
{
    float part[4] = {0};
    for (int i = 0; i < n; i++)
        part[i] = p[i];
    return vld1q_f32(part);
}
BR__INLINE void v_store_n(float *p, vf v, int n)
{
    float part[4];
    vst1q_f32(part, v);
    for (int i = 0; i < n; i++)
        p[i] = part[i];
}
/* The first n of four 16-bit elements, zeros after them. */
BR__INLINE uint16x4_t v_half_n(const uint16_t *p, int n)
{
    uint16_t part[4] = {0};
    for (int i = 0; i < n; i++)
        part[i] = p[i];
    return vld1_u16(part);
}
BR__INLINE vf v_widen_bf16(uint16x4_t h)
{
    return vreinterpretq_f32_u32(vshll_n_u16(h, 16));
}
BR__INLINE vf v_load_bf16(const uint16_t *p)
{
    return v_widen_bf16(vld1_u16(p));
}
BR__INLINE vf v_load_bf16_n(const uint16_t *p, int n)
{
    return v_widen_bf16(v_half_n(p, n));
}
BR__INLINE vf v_load_f16(const uint16_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
BR__INLINE vf v_load_f16_n(const uint16_t *p, int n)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(v_half_n(p, n)));
}
BR__INLINE uint16x4_t v_round_bf16(vf v)
{
    uint32x4_t u = vreinterpretq_u32_f32(v), top = vshrq_n_u32(u, 16);
    uint32x4_t odd = vandq_u32(top, vdupq_n_u32(1));
    uint32x4_t r = vshrq_n_u32(vaddq_u32(vaddq_u32(u, vdupq_n_u32(0x7FFF)), odd), 16);
    uint32x4_t quiet = vorrq_u32(top, vdupq_n_u32(0x40));
    return vmovn_u32(vbslq_u32(vceqq_f32(v, v), r, quiet));
}
BR__INLINE void v_store_bf16(uint16_t *p, vf v)
{
    vst1_u16(p, v_round_bf16(v));
}
BR__INLINE void v_store_bf16_n(uint16_t *p, vf v, int n)
{
    uint16_t part[4];
    vst1_u16(part, v_round_bf16(v));
    for (int i = 0; i < n; i++)
        p[i] = part[i];
}
BR__INLINE vf v_set1(float x)
{
    return vdupq_n_f32(x);
}
BR__INLINE vf v_zero(void)
{
    return vdupq_n_f32(0);
}
BR__INLINE vf v_add(vf a, vf b)
{
    return vaddq_f32(a, b);
}
BR__INLINE vf v_sub(vf a, vf b)
{
    return vsubq_f32(a, b);
}
BR__INLINE vf v_mul(vf a, vf b)
{
    return vmulq_f32(a, b);
}
BR__INLINE vf v_div(vf a, vf b)
{
    return vdivq_f32(a, b);
}
BR__INLINE vf v_pick_gt(vf a, vf b, vf x, vf y)
{
    return vbslq_f32(vcgtq_f32(a, b), x, y);
}
/* vmaxq_f32 would give NaN for (NaN, b). */
BR__INLINE vf v_max(vf a, vf b)
{
    return v_pick_gt(a, b, a, b);
}
BR__INLINE vf v_min(vf a, vf b)
{
    return v_pick_gt(b, a, a, b);
}
BR__INLINE vf v_sqrt(vf a)
{
    return vsqrtq_f32(a);
}
BR__INLINE vf v_abs(vf a)
{
    return vabsq_f32(a);
}
BR__INLINE vf v_fma(vf a, vf b, vf c)
{
    return vfmaq_f32(c, a, b);
}
BR__INLINE vf v_pow2(vf n)
{
    int32x4_t u = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127));
    return vreinterpretq_f32_s32(vshlq_n_s32(u, 23));
}
BR__INLINE float v_sum(vf v)
{
    return vaddvq_f32(v);
}
BR__INLINE float v_hmax(vf v)
{
    return vmaxvq_f32(v);
}
BR__INLINE void v_transpose(vf r[VN])
{
    float32x4x2_t a = vtrnq_f32(r[0], r[1]), b = vtrnq_f32(r[2], r[3]);
    r[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
    r[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
    r[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
    r[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
}
BR__INLINE void v_load_transposed(vf r[VN], const char *p, int64_t ld)
{
    BR__UNROLL for (int i = 0; i < 4; i++) r[i] =
        vreinterpretq_f32_u8(vld1q_u8((const uint8_t *)p + i * ld));
    v_transpose(r);
}
BR__INLINE vf v_low_bf16(vf pairs)
{
    return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(pairs), 16));
}
BR__INLINE vf v_high_bf16(vf pairs)
{
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(pairs), vdupq_n_u32(0xFFFF0000u)));
}
BR__INLINE vf v_half_bf16(const uint16_t *p, int h)
{
    vf v = vreinterpretq_f32_u16(vld1q_u16(p));
    return h ? v_high_bf16(v) : v_low_bf16(v);
}
BR__INLINE void v_split(float *dst, const float *x)
{
    float32x4x2_t t = vld2q_f32(x);
    vst1q_f32(dst, t.val[0]);
    vst1q_f32(dst + 4, t.val[1]);
}
BR__INLINE void v_sum4(float *out, const vf v[4])
{
    vst1q_f32(out, vpaddq_f32(vpaddq_f32(v[0], v[1]), vpaddq_f32(v[2], v[3])));
}
BR__INLINE vf v_acc(vf acc, vf a, vf b)
{
    return v_fma(a, b, acc);
}

#endif
