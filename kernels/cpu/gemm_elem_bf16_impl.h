/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* gemm_elem_bf16_impl.h - units of gemm_impl.h where inputs may be rounded: pairs of bfloat16.
 *
 * Needs: struct mat, vec.h with AVX-512, BR__PAIRS.  Defines: GEMM_UNIT, gemm_unit_along,
 * gemm_unit_across, gemm_unit_fma. */
#define GEMM_UNIT 2

/* 2 VN floats or bfloat16 as VN pairs. */
BR__INLINE vf gemm_pair(const char *p, const uint32_t dtype)
{
    const float *x = (const float *)(const void *)p;
    if (dtype == BR_BF16)
        return v_load(x);
    __m512i lo = _mm512_castsi256_si512(v_round_bf16(v_load(x)));
    return _mm512_castsi512_ps(_mm512_inserti64x4(lo, v_round_bf16(v_load(x + VN)), 1));
}

/* VN units of row i from unit k on, zeros from element k_end on. */
BR__INLINE vf gemm_unit_along(const struct mat *m, const uint32_t dtype, int64_t i, int64_t k,
                              int64_t k_end)
{
    const int64_t size = br__float_size(dtype), left = k_end - 2 * k;
    const char *p = m->data + (i * m->ld + 2 * k) * size;
    if (left >= 2 * VN)
        return gemm_pair(p, dtype);
    char part[2 * VN * sizeof(float)] = {0};
    if (left > 0)
        memcpy(part, p, (size_t)(left * size));
    return gemm_pair(part, dtype);
}

/* n elements of one row, rounded, in the low halves. */
BR__INLINE __m512i gemm_half_across(const char *row, const uint32_t dtype, int64_t i, int64_t n)
{
    if (dtype == BR_BF16) {
        const uint16_t *h = (const uint16_t *)(const void *)row + i;
        return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(v_mask_n((int)n), h));
    }
    return _mm512_cvtepu16_epi32(
        v_round_bf16(v_load_n((const float *)(const void *)row + i, (int)n)));
}

/* Unit k of rows i .. i + n; m is k_major, so these are two of its rows. */
BR__INLINE vf gemm_unit_across(const struct mat *m, const uint32_t dtype, int64_t i, int64_t n,
                               int64_t k, int64_t k_end)
{
    const int64_t ld = m->ld * br__float_size(dtype);
    if (2 * k >= k_end || n <= 0)
        return v_zero();
    n = min_of(n, VN);
    __m512i pair = gemm_half_across(m->data + 2 * k * ld, dtype, i, n);
    if (2 * k + 1 < k_end) {
        __m512i high = gemm_half_across(m->data + (2 * k + 1) * ld, dtype, i, n);
        pair = _mm512_or_si512(pair, _mm512_slli_epi32(high, 16));
    }
    return _mm512_castsi512_ps(pair);
}

BR__INLINE vf gemm_unit_fma(vf a, vf b, vf acc)
{
    return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
}
