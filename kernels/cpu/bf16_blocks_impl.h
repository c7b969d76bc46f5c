/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* bf16_blocks_impl.h - rows as blocks of 2 VN elements, for products that read bfloat16 as stored.
 *
 * Needs: vec.h.  Defines: SPLIT_K, split_*.
 *
 * A block is two halves, of the elements that V_PLACE says.  One instruction widens either half of
 * 2 VN stored bf16, where consecutive elements would take two: no shuffle is needed. */

#define SPLIT_K (2 * VN) /* elements of a block */

static inline int64_t split_padded(int64_t k)
{
    return (k + SPLIT_K - 1) / SPLIT_K * SPLIT_K;
}

/* One block of a row, n <= 2 VN elements of it and zeros after them. */
BR__INLINE void split_block(float *dst, const float *x, int64_t n, int pairs)
{
    float part[SPLIT_K];
    if (n < SPLIT_K) {
        memset(part, 0, sizeof part);
        memcpy(part, x, (size_t)n * sizeof *x);
        x = part;
    }
    if (pairs) {
        v_split(dst, x);
    } else {
        v_store(dst, v_load(x));
        v_store(dst + VN, v_load(x + VN));
    }
}

/* Half h of the block of stored elements that begins at p. */
BR__INLINE vf split_half(const char *p, const int h, const uint32_t dtype)
{
    if (dtype == BR_F32)
        return v_load((const float *)(const void *)p + h * VN);
    const uint16_t *half = (const uint16_t *)(const void *)p;
    return dtype == BR_F16 ? v_load_f16(half + h * VN) : v_half_bf16(half, h);
}

/* v[j] = the same of what lies `at` bytes into rows[j], for j < count */
BR__INLINE void split_halves(vf *v, const char *const *rows, const int count, int64_t at,
                             const int h, const uint32_t dtype)
{
#ifdef v_half_rows
    if (dtype == BR_BF16) {
        v_half_rows(v, rows, count, at, h);
        return;
    }
#endif
    BR__UNROLL for (int j = 0; j < count; j++)
    {
        v[j] = split_half(rows[j] + at, h, dtype);
        BR__KEEP(v[j]);
    }
}

/* The last n < 2 VN elements of `count` rows, `at` bytes into each, zeros after them: rows[j] = a
 * block in part[j]. */
BR__INLINE void split_tail(char (*part)[SPLIT_K * sizeof(float)], const char **rows,
                           const char *const *from, int64_t at, const int count, int64_t n,
                           const uint32_t dtype)
{
    BR__UNROLL for (int j = 0; j < count; j++)
    {
        memset(part[j], 0, sizeof part[j]);
        memcpy(part[j], from[j] + at, (size_t)(n * br__float_size(dtype)));
        rows[j] = part[j];
    }
}

/* dst[n] = blocks of floats in the order of `pairs` back in theirs */
BR__INLINE void split_join(float *dst, const float *blocks, int64_t n, int pairs)
{
    if (!pairs) {
        memcpy(dst, blocks, (size_t)n * sizeof *dst);
        return;
    }
    for (int64_t i = 0; i < n; i += SPLIT_K) {
        int64_t end = min_of(n - i, SPLIT_K);
        for (int64_t u = 0; u < end; u++)
            dst[i + u] = blocks[i + V_PLACE(u)];
    }
}
