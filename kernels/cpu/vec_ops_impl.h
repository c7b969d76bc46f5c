/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* vec_ops_impl.h - operations on runs of floats: copy, scale, dot, maximum, exp.
 *
 * Needs: vec.h, access.h.  Defines: copy, zero, load_w, load_w_n, add_scaled, scaled, dot, largest,
 * exp_row, log_sum, zero_unowned_rows. */

BR__INLINE void copy(float *dst, const float *src, int64_t n)
{
    memcpy(dst, src, (size_t)n * sizeof *dst);
}

BR__INLINE void zero(float *dst, int64_t n)
{
    memset(dst, 0, (size_t)n * sizeof *dst);
}

/* VN elements of a row of a float dtype from the k-th on, or n < VN and zeros, as float32. */
BR__INLINE vf load_w(const char *row, int64_t k, const uint32_t dtype)
{
    if (dtype == BR_F32)
        return v_load((const float *)(const void *)row + k);
    const uint16_t *half = (const uint16_t *)(const void *)row + k;
    return dtype == BR_BF16 ? v_load_bf16(half) : v_load_f16(half);
}

BR__INLINE vf load_w_n(const char *row, int64_t k, const uint32_t dtype, int n)
{
    if (dtype == BR_F32)
        return v_load_n((const float *)(const void *)row + k, n);
    const uint16_t *half = (const uint16_t *)(const void *)row + k;
    return dtype == BR_BF16 ? v_load_bf16_n(half, n) : v_load_f16_n(half, n);
}

/* n elements of a float dtype, from the at-th on, as float32. */
BR__INLINE void widen(float *dst, const struct br_tensor *t, int64_t at, int64_t n)
{
    const uint16_t *h = (const uint16_t *)t->data + at;
    int64_t i = 0;
    if (t->dtype == BR_F32) {
        copy(dst, (const float *)t->data + at, n);
    } else if (t->dtype == BR_BF16) {
        for (; i + VN <= n; i += VN)
            v_store(dst + i, v_load_bf16(h + i));
        for (; i < n; i++)
            dst[i] = s_bf16(h[i]);
    } else {
        for (; i + VN <= n; i += VN)
            v_store(dst + i, v_load_f16(h + i));
        for (; i < n; i++)
            dst[i] = s_f16(h[i]);
    }
}

/* dst = src rounded to bfloat16 */
BR__INLINE void narrow(uint16_t *dst, const float *src, int64_t n)
{
    int64_t i = 0;
    for (; i + VN <= n; i += VN)
        v_store_bf16(dst + i, v_load(src + i));
    for (; i < n; i++)
        dst[i] = s_to_bf16(src[i]);
}

/* dst += src * s */
BR__INLINE void add_scaled(float *dst, const float *src, float s, int64_t n)
{
    int64_t i = 0;
    for (; i + VN <= n; i += VN)
        v_store(dst + i, v_fma(v_load(src + i), v_set1(s), v_load(dst + i)));
    if (i < n) {
        int m = (int)(n - i);
        v_store_n(dst + i, v_fma(v_load_n(src + i, m), v_set1(s), v_load_n(dst + i, m)), m);
    }
}

/* dst = src * s; dst may be src */
BR__INLINE void scaled(float *dst, const float *src, float s, int64_t n)
{
    int64_t i = 0;
    for (; i + VN <= n; i += VN)
        v_store(dst + i, v_mul(v_load(src + i), v_set1(s)));
    if (i < n) {
        int m = (int)(n - i);
        v_store_n(dst + i, v_mul(v_load_n(src + i, m), v_set1(s)), m);
    }
}

/* Four independent sums: shorter dependency chains, smaller rounding error. */
BR__INLINE float dot(const float *a, const float *b, int64_t n)
{
    vf s0 = v_zero(), s1 = v_zero(), s2 = v_zero(), s3 = v_zero();
    int64_t i = 0;
    for (; i + 4 * VN <= n; i += 4 * VN) {
        s0 = v_fma(v_load(a + i), v_load(b + i), s0);
        s1 = v_fma(v_load(a + i + VN), v_load(b + i + VN), s1);
        s2 = v_fma(v_load(a + i + 2 * VN), v_load(b + i + 2 * VN), s2);
        s3 = v_fma(v_load(a + i + 3 * VN), v_load(b + i + 3 * VN), s3);
    }
    for (; i + VN <= n; i += VN)
        s0 = v_fma(v_load(a + i), v_load(b + i), s0);
    if (i < n) {
        int m = (int)(n - i);
        s1 = v_fma(v_load_n(a + i, m), v_load_n(b + i, m), s1);
    }
    return v_sum(v_add(v_add(s0, s1), v_add(s2, s3)));
}

/* Maximum of n >= 1 numbers that ignores NaN; exp(NaN - max) is NaN again. */
BR__INLINE float largest(const float *x, int64_t n)
{
    vf m = v_set1(-INFINITY);
    int64_t i = 0;
    for (; i + VN <= n; i += VN)
        m = v_max(v_load(x + i), m);
    float most = v_hmax(m);
    for (; i < n; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}

/* o = exp(x - max); returns the sum. */
BR__INLINE float exp_row(float *o, const float *x, float max, int64_t n)
{
    vf s0 = v_zero(), s1 = v_zero(), m = v_set1(max);
    int64_t i = 0;
    for (; i + 2 * VN <= n; i += 2 * VN) {
        vf a = v_exp(v_sub(v_load(x + i), m)), b = v_exp(v_sub(v_load(x + i + VN), m));
        v_store(o + i, a);
        v_store(o + i + VN, b);
        s0 = v_add(s0, a);
        s1 = v_add(s1, b);
    }
    float sum = v_sum(v_add(s0, s1));
    for (; i < n; i += VN) {
        int k = n - i < VN ? (int)(n - i) : VN;
        v_store_n(o + i, v_exp(v_sub(v_load_n(x + i, k), m)), k);
        for (int j = 0; j < k; j++)
            sum += o[i + j];
    }
    return sum;
}

/* Sums of so many terms fit float32 well; what they add up to is kept in double. */
#define TERMS_AT_ONCE 2048

/* log(sum(exp(x - max))) + max is *max + log(*sum). */
static void log_sum(const float *x, int64_t n, float *max, double *sum)
{
    *max = largest(x, n);
    *sum = 0;
    vf m = v_set1(*max);
    for (int64_t i = 0; i < n;) {
        int64_t end = min_of(i + TERMS_AT_ONCE, n);
        vf s0 = v_zero(), s1 = v_zero();
        for (; i + 2 * VN <= end; i += 2 * VN) {
            s0 = v_add(s0, v_exp(v_sub(v_load(x + i), m)));
            s1 = v_add(s1, v_exp(v_sub(v_load(x + i + VN), m)));
        }
        *sum += (double)v_sum(v_add(s0, s1));
        for (; i < end; i++)
            *sum += (double)expf(x[i] - *max);
    }
}

/* n elements of row r of a result from the col-th on: those at `from`, of its dtype, or zeros. */
BR__INLINE void move(const struct br_tensor *o, int64_t r, int64_t col, const char *from, int64_t n)
{
    char *to = br__place(o, r, col);
    size_t bytes = (size_t)(br__place(o, r, col + n) - to);
    if (from)
        memcpy(to, from, bytes);
    else
        memset(to, 0, bytes);
}

/* Zero output rows that no sequence owns.  Contains a barrier: every thread must call it. */
BR__INLINE void zero_unowned_rows(const struct br_call *c, const struct br_tensor *seqs, int64_t S)
{
    int64_t from, to, T = c->out->shape[0];
    if (br__seqs_cover(seqs, T, S))
        return;
    int64_t rows = br__rows(c->out);
    br__thread_range(c, rows, 1, &from, &to);
    for (int64_t r = from; r < to; r++)
        move(c->out, r, 0, NULL, br__cols(c->out));
    br__sync(c);
}
