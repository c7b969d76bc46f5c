/* dot_body.h - products of a few rows with weights that are read once, as fast as memory gives them.
 *
 * A tile is `rows` rows of x by W rows of the weight, each a sum over k in vector lanes.  The W
 * weight rows lie N / W apart: several far streams read faster than one, for a core's prefetchers
 * work page by page.  x stays in the first-level cache; with more than four rows the weight rows are
 * read again for each four, from that cache. */

#if VN == 16 || defined(BR__VEC_NEON) /* 32 registers */
#define DOT_W1 8
#define DOT_W2 8
#define DOT_W3 8
#define DOT_W4 6
#elif VN == 8
#define DOT_W1 8
#define DOT_W2 4
#define DOT_W3 4
#define DOT_W4 3
#else
#define DOT_W1 4
#define DOT_W2 4
#define DOT_W3 3
#define DOT_W4 3
#endif
#ifndef DOT_MAX_ROWS
#define DOT_MAX_ROWS 16
#endif
#define DOT_STEP (VN < 16 ? 16 : 32) /* elements of k per turn */
#define DOT_AHEAD 1024               /* bytes to prefetch ahead in each stream */
#define DOT_BLOCK_BYTES 65536        /* of weights, in one block of work */

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

/* out[i * ldo + at[j]] = x[i] . w[j] for i < rows and j < n_valid <= W */
BR__INLINE void dot_tile(const int rows, const int W, const uint32_t dtype, const float *x,
                         int64_t ldx, const char *const *w, int64_t k_end, float *out, int64_t ldo,
                         const int64_t *at, int n_valid)
{
    const int64_t size = dtype == BR_F32 ? 4 : 2;
    vf acc[4][8];
    BR__UNROLL for (int i = 0; i < rows; i++)
    {
        BR__UNROLL for (int j = 0; j < W; j++) acc[i][j] = v_zero();
    }
    int64_t k = 0;
    for (; k + DOT_STEP <= k_end; k += DOT_STEP) {
        BR__UNROLL for (int j = 0; j < W; j++) __builtin_prefetch(w[j] + k * size + DOT_AHEAD);
        BR__UNROLL for (int u = 0; u < DOT_STEP; u += VN)
        {
            vf xv[4];
            BR__UNROLL for (int i = 0; i < rows; i++) xv[i] = v_load(x + i * ldx + k + u);
            BR__UNROLL for (int j = 0; j < W; j++)
            {
                vf wv = load_w(w[j], k + u, dtype);
                BR__UNROLL for (int i = 0; i < rows; i++) acc[i][j] = v_fma(xv[i], wv, acc[i][j]);
            }
        }
    }
    for (; k < k_end; k += VN) {
        int n = k_end - k < VN ? (int)(k_end - k) : VN;
        BR__UNROLL for (int j = 0; j < W; j++)
        {
            vf wv = load_w_n(w[j], k, dtype, n);
            BR__UNROLL for (int i = 0; i < rows; i++)
                acc[i][j] = v_fma(v_load_n(x + i * ldx + k, n), wv, acc[i][j]);
        }
    }
    BR__UNROLL for (int i = 0; i < rows; i++)
    {
        BR__UNROLL for (int j = 0; j < W; j++)
        {
            if (j < n_valid)
                out[i * ldo + at[j]] = v_sum(acc[i][j]);
        }
    }
}

/* Rows 0 .. m of x by the weight rows w[W]. */
BR__INLINE void dot_rows(const int W, const uint32_t dtype, const struct product *p, int64_t m,
                         const char *const *w, const int64_t *at, int n_valid)
{
    const float *x = (const float *)(const void *)p->a.data;
    for (int64_t i = 0; i < m; i += 4) {
        const float *xi = x + i * p->a.ld;
        float *out = p->out + i * p->ldo;
        if (m - i >= 4)
            dot_tile(4, W, dtype, xi, p->a.ld, w, p->k, out, p->ldo, at, n_valid);
        else if (m - i == 3)
            dot_tile(3, W, dtype, xi, p->a.ld, w, p->k, out, p->ldo, at, n_valid);
        else if (m - i == 2)
            dot_tile(2, W, dtype, xi, p->a.ld, w, p->k, out, p->ldo, at, n_valid);
        else
            dot_tile(1, W, dtype, xi, p->a.ld, w, p->k, out, p->ldo, at, n_valid);
    }
}

/* Streams, their length in rows, and how many rows of each a block takes. */
struct dot_plan {
    int64_t n_streams, length, step;
};

static struct dot_plan dot_plan(const struct product *p)
{
    static const int64_t widths[] = {DOT_W1, DOT_W2, DOT_W3, DOT_W4};
    int64_t size = p->b.dtype == BR_F32 ? 4 : 2, w = widths[p->m < 4 ? p->m - 1 : 3];
    int64_t step = DOT_BLOCK_BYTES / (w * size * p->k + 1);
    return (struct dot_plan){w, (p->n + w - 1) / w, step > 0 ? step : 1};
}

static int64_t dot_n_blocks(const struct product *p)
{
    struct dot_plan d = dot_plan(p);
    return (d.length + d.step - 1) / d.step;
}

/* m is constant, or large. */
BR__INLINE void dot_streams(const int W, const uint32_t dtype, const struct product *p, int64_t m,
                            struct dot_plan d, int64_t from, int64_t to)
{
    const int64_t size = dtype == BR_F32 ? 4 : 2;
    for (int64_t r = from; r < to; r++) {
        const char *w[8];
        int64_t at[8];
        int n_valid = 0;
        for (int j = 0; j < W; j++) {
            at[j] = j * d.length + r;
            /* The last streams may be shorter: read a row twice, store it once. */
            int64_t row = at[j] < p->n ? at[j] : p->n - 1;
            n_valid += at[j] < p->n;
            w[j] = p->b.data + row * p->b.ld * size;
        }
        dot_rows(W, dtype, p, m, w, at, n_valid);
    }
}

BR__INLINE void dot_dtype(const uint32_t dtype, const struct product *p, struct dot_plan d,
                          int64_t from, int64_t to)
{
    if (p->m == 1)
        dot_streams(DOT_W1, dtype, p, 1, d, from, to);
    else if (p->m == 2)
        dot_streams(DOT_W2, dtype, p, 2, d, from, to);
    else if (p->m == 3)
        dot_streams(DOT_W3, dtype, p, 3, d, from, to);
    else
        dot_streams(DOT_W4, dtype, p, p->m, d, from, to);
}

static void dot_block(const struct product *p, int64_t block)
{
    struct dot_plan d = dot_plan(p);
    int64_t from = block * d.step, to = from + d.step < d.length ? from + d.step : d.length;
    if (p->b.dtype == BR_BF16)
        dot_dtype(BR_BF16, p, d, from, to);
    else if (p->b.dtype == BR_F16)
        dot_dtype(BR_F16, p, d, from, to);
    else
        dot_dtype(BR_F32, p, d, from, to);
}
