/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* gemm_elem_f32_impl.h - units of gemm_impl.h in float32: one float each, exact products.
 *
 * Needs: struct mat, vec_ops_impl.h.  Defines: GEMM_UNIT, gemm_unit_along, gemm_unit_across,
 * gemm_unit_fma. */
#define GEMM_UNIT 1

/* VN units of row i from unit k on, zeros from k_end on. */
BR__INLINE vf gemm_unit_along(const struct mat *m, const uint32_t dtype, int64_t i, int64_t k,
                              int64_t k_end)
{
    const char *row = m->data + i * m->ld * br__float_size(dtype);
    if (k + VN <= k_end)
        return load_w(row, k, dtype);
    return load_w_n(row, k, dtype, (int)(k_end - k));
}

/* Unit k of rows i .. i + n, n <= VN; m is k_major. */
BR__INLINE vf gemm_unit_across(const struct mat *m, const uint32_t dtype, int64_t i, int64_t n,
                               int64_t k, int64_t k_end)
{
    const char *row = m->data + k * m->ld * br__float_size(dtype);
    (void)k_end;
    if (n >= VN)
        return load_w(row, i, dtype);
    return load_w_n(row, i, dtype, n > 0 ? (int)n : 0);
}

BR__INLINE vf gemm_unit_fma(vf a, vf b, vf acc)
{
    return v_fma(a, b, acc);
}
