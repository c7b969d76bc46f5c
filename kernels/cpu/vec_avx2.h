/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* vec_avx2.h - vec.h on AVX2, FMA and F16C. */
#ifndef BR__VEC_AVX2_H
#define BR__VEC_AVX2_H

#include <immintrin.h>

#define VN 8
typedef __m256 vf;

/* All ones in the first n of eight lanes. */
BR__INLINE __m256i v_mask_n(int n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane);
}

BR__INLINE vf v_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
BR__INLINE void v_store(float *p, vf v)
{
    _mm256_storeu_ps(p, v);
}
BR__INLINE vf v_load_n(const float *p, int n)
{
    return _mm256_maskload_ps(p, v_mask_n(n));
}
BR__INLINE void v_store_n(float *p, vf v, int n)
{
    _mm256_maskstore_ps(p, v_mask_n(n), v);
}
/* The first n of eight 16-bit elements, zeros after them. */
BR__INLINE __m128i v_half_n(const uint16_t *p, int n)
{
    uint16_t part[8] = {0};
    for (int i = 0; i < n; i++)
        part[i] = p[i];
    return _mm_loadu_si128((const void *)part);
}
BR__INLINE vf v_widen_bf16(__m128i h)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
BR__INLINE vf v_load_bf16(const uint16_t *p)
{
    return v_widen_bf16(_mm_loadu_si128((const void *)p));
}
BR__INLINE vf v_load_bf16_n(const uint16_t *p, int n)
{
    return v_widen_bf16(v_half_n(p, n));
}
BR__INLINE vf v_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
}
BR__INLINE vf v_load_f16_n(const uint16_t *p, int n)
{
    return _mm256_cvtph_ps(v_half_n(p, n));
}
BR__INLINE __m128i v_round_bf16(vf v)
{
    __m256i u = _mm256_castps_si256(v), top = _mm256_srli_epi32(u, 16);
    __m256i odd = _mm256_and_si256(top, _mm256_set1_epi32(1));
    __m256i sum = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7FFF)), odd);
    __m256i quiet = _mm256_or_si256(top, _mm256_set1_epi32(0x40));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    __m256i r = _mm256_blendv_epi8(_mm256_srli_epi32(sum, 16), quiet, nan);
    return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
}
BR__INLINE void v_store_bf16(uint16_t *p, vf v)
{
    _mm_storeu_si128((void *)p, v_round_bf16(v));
}
BR__INLINE void v_store_bf16_n(uint16_t *p, vf v, int n)
{
    uint16_t part[8];
    _mm_storeu_si128((void *)part, v_round_bf16(v));
    for (int i = 0; i < n; i++)
        p[i] = part[i];
}
BR__INLINE vf v_set1(float x)
{
    return _mm256_set1_ps(x);
}
BR__INLINE vf v_zero(void)
{
    return _mm256_setzero_ps();
}
BR__INLINE vf v_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}
BR__INLINE vf v_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}
BR__INLINE vf v_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}
BR__INLINE vf v_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}
BR__INLINE vf v_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}
BR__INLINE vf v_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}
BR__INLINE vf v_sqrt(vf a)
{
    return _mm256_sqrt_ps(a);
}
BR__INLINE vf v_abs(vf a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
BR__INLINE vf v_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
BR__INLINE vf v_pick_gt(vf a, vf b, vf x, vf y)
{
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}
BR__INLINE vf v_pow2(vf n)
{
    __m256i u = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(u, 23));
}
BR__INLINE float v_sum(vf v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
BR__INLINE float v_hmax(vf v)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
/* The 4 x 4 matrices of the 128-bit lanes. */
BR__INLINE void v_transpose_lanes(vf r[4])
{
    vf a = _mm256_unpacklo_ps(r[0], r[1]), b = _mm256_unpackhi_ps(r[0], r[1]);
    vf c = _mm256_unpacklo_ps(r[2], r[3]), d = _mm256_unpackhi_ps(r[2], r[3]);
    r[0] = _mm256_shuffle_ps(a, c, 0x44);
    r[1] = _mm256_shuffle_ps(a, c, 0xEE);
    r[2] = _mm256_shuffle_ps(b, d, 0x44);
    r[3] = _mm256_shuffle_ps(b, d, 0xEE);
}
BR__INLINE void v_transpose(vf r[VN])
{
    v_transpose_lanes(r);
    v_transpose_lanes(r + 4);
    BR__UNROLL for (int i = 0; i < 4; i++)
    {
        vf low = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
        r[i] = low;
    }
}
/* Half of the work is done by loading. */
BR__INLINE void v_load_transposed(vf r[VN], const char *p, int64_t ld)
{
    BR__UNROLL for (int c = 0; c < 2; c++, p += 16)
    {
        BR__UNROLL for (int i = 0; i < 4; i++)
        {
            vf low = _mm256_castps128_ps256(_mm_loadu_ps((const void *)(p + i * ld)));
            r[4 * c + i] =
                _mm256_insertf128_ps(low, _mm_loadu_ps((const void *)(p + (i + 4) * ld)), 1);
        }
        v_transpose_lanes(r + 4 * c);
    }
}
BR__INLINE vf v_low_bf16(vf pairs)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(pairs), 16));
}
BR__INLINE vf v_high_bf16(vf pairs)
{
    return _mm256_and_ps(pairs, _mm256_castsi256_ps(_mm256_set1_epi32((int)0xFFFF0000u)));
}
BR__INLINE vf v_load_now(const float *p)
{
    vf v;
    __asm__ volatile("vmovups %1, %0" : "=x"(v) : "m"(*(const __m256_u *)(const void *)p));
    return v;
}
#define v_load_now v_load_now
/* Between zeros, words become floats: elements 0..3 and 8..11 make half 0. */
#define V_PLACE(u) (((u)&3) | ((u)&8) >> 1 | ((u)&4) << 1)
BR__INLINE vf v_half_bf16(const uint16_t *p, int h)
{
    __m256i v = _mm256_loadu_si256((const void *)p), zero = _mm256_setzero_si256();
    return _mm256_castsi256_ps(h ? _mm256_unpackhi_epi16(zero, v) : _mm256_unpacklo_epi16(zero, v));
}
/* For a loop of twelve sums, which leave four registers: the zeros become the last of the results.
 * A compiler would load first and then run out. */
BR__INLINE void v_half_rows(vf *v, const char *const *p, const int n, int64_t at, const int h)
{
    __m256i zero;
    __asm__ volatile("vpxor %0, %0, %0" : "=x"(zero));
    BR__UNROLL for (int j = 0; j < n; j++)
    {
        const __m256i_u *from = (const void *)(p[j] + at);
        if (h)
            __asm__ volatile("vpunpckhwd %1, %2, %0" : "=x"(v[j]) : "m"(*from), "x"(zero));
        else
            __asm__ volatile("vpunpcklwd %1, %2, %0" : "=x"(v[j]) : "m"(*from), "x"(zero));
    }
}
#define v_half_rows v_half_rows
BR__INLINE void v_split(float *dst, const float *x)
{
    vf a = v_load(x), b = v_load(x + 8);
    v_store(dst, _mm256_permute2f128_ps(a, b, 0x20));
    v_store(dst + 8, _mm256_permute2f128_ps(a, b, 0x31));
}
BR__INLINE void v_sum4(float *out, const vf v[4])
{
    vf ab = _mm256_add_ps(_mm256_unpacklo_ps(v[0], v[1]), _mm256_unpackhi_ps(v[0], v[1]));
    vf cd = _mm256_add_ps(_mm256_unpacklo_ps(v[2], v[3]), _mm256_unpackhi_ps(v[2], v[3]));
    vf s = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xEE));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}
/* Sums must stay where they are, and in order: compilers turn a loop of twelve into one that moves
 * them about. */
BR__INLINE vf v_acc(vf acc, vf a, vf b)
{
    __asm__ volatile("vfmadd231ps %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b));
    return acc;
}

#endif
