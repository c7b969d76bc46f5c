/* split_body.h - rows as blocks of 2 VN elements, where bfloat16 is met as it is stored: the even
 * elements of a block come first, then the odd ones.  A vector of pairs of bfloat16 becomes either
 * half with one instruction, where widening consecutive elements takes two. */

#define SPLIT_K (2 * VN) /* elements of a block */

static inline int64_t split_padded(int64_t k)
{
    return (k + SPLIT_K - 1) / SPLIT_K * SPLIT_K;
}

/* One block of a row, n <= 2 VN elements of it and zeros after them. */
BR__INLINE void split_block(float *dst, const float *x, int64_t n, int pairs)
{
    float part[SPLIT_K] = {0};
    if (n < SPLIT_K) {
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
BR__INLINE vf split_half(const char *p, int h, const uint32_t dtype, const int tight)
{
    if (dtype == BR_F32)
        return v_load((const float *)(const void *)p + h * VN);
    const uint16_t *half = (const uint16_t *)(const void *)p;
    if (dtype == BR_F16)
        return v_load_f16(half + h * VN);
    if (h == 0)
        return v_load_bf16_even(half);
    return tight ? v_load_bf16_odd_tight(half) : v_load_bf16_odd(half);
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
    int64_t i = 0;
    for (; i + SPLIT_K <= n; i += SPLIT_K)
        for (int64_t u = 0; u < VN; u++) {
            dst[i + 2 * u] = blocks[i + u];
            dst[i + 2 * u + 1] = blocks[i + VN + u];
        }
    for (int64_t u = i; u < n; u++)
        dst[u] = blocks[i + (u - i) / 2 + ((u - i) & 1) * VN];
}
