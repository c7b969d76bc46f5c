/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* vec_avx512.h - vec.h on AVX-512 F, BW, DQ and VL. */
#ifndef BR__VEC_AVX512_H
#define BR__VEC_AVX512_H

#include <immintrin.h>

#define VN 16
typedef __m512 vf;

/* The first n of sixteen lanes, also for n < 0 and n > 16. */
BR__INLINE __mmask16 v_mask_n(int n)
{
    return (__mmask16)(n >= 16 ? 0xFFFF : n <= 0 ? 0 : (1 << n) - 1);
}

BR__INLINE vf v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
BR__INLINE void v_store(float *p, vf v)
{
    _mm512_storeu_ps(p, v);
}
BR__INLINE vf v_load_n(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(v_mask_n(n), p);
}
BR__INLINE void v_store_n(float *p, vf v, int n)
{
    _mm512_mask_storeu_ps(p, v_mask_n(n), v);
}
BR__INLINE vf v_widen_bf16(__m256i h)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
BR__INLINE vf v_load_bf16(const uint16_t *p)
{
    return v_widen_bf16(_mm256_loadu_si256((const void *)p));
}
BR__INLINE vf v_load_bf16_n(const uint16_t *p, int n)
{
    return v_widen_bf16(_mm256_maskz_loadu_epi16(v_mask_n(n), p));
}
BR__INLINE vf v_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
}
BR__INLINE vf v_load_f16_n(const uint16_t *p, int n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(v_mask_n(n), p));
}
BR__INLINE __m256i v_round_bf16(vf v)
{
    __m512i u = _mm512_castps_si512(v), top = _mm512_srli_epi32(u, 16);
    __m512i odd = _mm512_and_si512(top, _mm512_set1_epi32(1));
    __m512i sum = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7FFF)), odd);
    __m512i r = _mm512_srli_epi32(sum, 16);
    __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(r, nan, top, _mm512_set1_epi32(0x40)));
}
BR__INLINE void v_store_bf16(uint16_t *p, vf v)
{
    _mm256_storeu_si256((void *)p, v_round_bf16(v));
}
BR__INLINE void v_store_bf16_n(uint16_t *p, vf v, int n)
{
    _mm256_mask_storeu_epi16(p, v_mask_n(n), v_round_bf16(v));
}
BR__INLINE vf v_set1(float x)
{
    return _mm512_set1_ps(x);
}
BR__INLINE vf v_zero(void)
{
    return _mm512_setzero_ps();
}
BR__INLINE vf v_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
BR__INLINE vf v_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
BR__INLINE vf v_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
BR__INLINE vf v_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
BR__INLINE vf v_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
BR__INLINE vf v_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
BR__INLINE vf v_sqrt(vf a)
{
    return _mm512_sqrt_ps(a);
}
BR__INLINE vf v_abs(vf a)
{
    return _mm512_abs_ps(a);
}
BR__INLINE vf v_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
BR__INLINE vf v_pick_gt(vf a, vf b, vf x, vf y)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), y, x);
}
BR__INLINE vf v_pow2(vf n)
{
    __m512i u = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(u, 23));
}
BR__INLINE float v_sum(vf v)
{
    return _mm512_reduce_add_ps(v);
}
BR__INLINE float v_hmax(vf v)
{
    return _mm512_reduce_max_ps(v);
}
/* The 4 x 4 matrices of the 128-bit lanes. */
BR__INLINE void v_transpose_lanes(vf r[4])
{
    vf a = _mm512_unpacklo_ps(r[0], r[1]), b = _mm512_unpackhi_ps(r[0], r[1]);
    vf c = _mm512_unpacklo_ps(r[2], r[3]), d = _mm512_unpackhi_ps(r[2], r[3]);
    r[0] = _mm512_shuffle_ps(a, c, 0x44);
    r[1] = _mm512_shuffle_ps(a, c, 0xEE);
    r[2] = _mm512_shuffle_ps(b, d, 0x44);
    r[3] = _mm512_shuffle_ps(b, d, 0xEE);
}
BR__INLINE void v_transpose(vf r[VN])
{
    /* Four rows each: 128-bit lane l of r[4 g + c] holds column 4 l + c of rows 4 g .. 4 g + 3. */
    BR__UNROLL for (int i = 0; i < 16; i += 4) v_transpose_lanes(r + i);
    BR__UNROLL for (int c = 0; c < 4; c++)
    {
        vf even = _mm512_shuffle_f32x4(r[c], r[4 + c], 0x88);
        vf odd = _mm512_shuffle_f32x4(r[c], r[4 + c], 0xDD);
        vf even2 = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0x88);
        vf odd2 = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0xDD);
        r[c] = _mm512_shuffle_f32x4(even, even2, 0x88);
        r[4 + c] = _mm512_shuffle_f32x4(odd, odd2, 0x88);
        r[8 + c] = _mm512_shuffle_f32x4(even, even2, 0xDD);
        r[12 + c] = _mm512_shuffle_f32x4(odd, odd2, 0xDD);
    }
}
/* Half of the work is done by loading. */
BR__INLINE void v_load_transposed(vf r[VN], const char *p, int64_t ld)
{
    BR__UNROLL for (int c = 0; c < 4; c++, p += 16)
    {
        BR__UNROLL for (int i = 0; i < 4; i++)
        {
            vf v = _mm512_castps128_ps512(_mm_loadu_ps((const void *)(p + i * ld)));
            v = _mm512_insertf32x4(v, _mm_loadu_ps((const void *)(p + (i + 4) * ld)), 1);
            v = _mm512_insertf32x4(v, _mm_loadu_ps((const void *)(p + (i + 8) * ld)), 2);
            r[4 * c + i] =
                _mm512_insertf32x4(v, _mm_loadu_ps((const void *)(p + (i + 12) * ld)), 3);
        }
        v_transpose_lanes(r + 4 * c);
    }
}
BR__INLINE vf v_low_bf16(vf pairs)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(pairs), 16));
}
BR__INLINE vf v_high_bf16(vf pairs)
{
    __m512i high = _mm512_set1_epi32((int)0xFFFF0000u);
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(pairs), high));
}
BR__INLINE vf v_half_bf16(const uint16_t *p, int h)
{
    vf v = _mm512_loadu_ps((const void *)p);
    return h ? v_high_bf16(v) : v_low_bf16(v);
}
BR__INLINE void v_split(float *dst, const float *x)
{
    const __m512i order = _mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    vf a = v_load(x), b = v_load(x + 16);
    vf even = _mm512_shuffle_ps(a, b, 0x88), odd = _mm512_shuffle_ps(a, b, 0xDD);
    v_store(dst, _mm512_permutexvar_ps(order, even));
    v_store(dst + 16, _mm512_permutexvar_ps(order, odd));
}
BR__INLINE void v_sum4(float *out, const vf v[4])
{
    vf ab = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
    vf cd = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
    vf s = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xEE));
    s = _mm512_add_ps(s, _mm512_shuffle_f32x4(s, s, 0x4E));
    s = _mm512_add_ps(s, _mm512_shuffle_f32x4(s, s, 0xB1));
    _mm_storeu_ps(out, _mm512_castps512_ps128(s));
}
BR__INLINE vf v_acc(vf acc, vf a, vf b)
{
    return v_fma(a, b, acc);
}

#endif
