/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* gemv_impl.h - products of a few rows with weights that are read once, as fast as memory gives
 * them.
 *
 * Needs: struct product of matmul_impl.h, which includes this, and bf16_blocks_impl.h;
 * BR__MATRIX_ONLY leaves bfloat16 weights alone; GEMV_MAX_ROWS may be set.  Defines: gemv_*.
 *
 * A tile is up to four rows of x by W rows of the weight, each a sum over k in vector elements. The
 * W weight rows lie N / W apart: several far streams read faster than one, since a core's
 * prefetchers work page by page.  With more than four rows the weight rows are read again for each
 * four, from the first-level cache.
 *
 * Each thread first rearranges x for itself, which costs less than to wait for another:
 * packed[tile of four rows][block of 2 VN elements][row][2 VN], zeros at the end of k, the blocks
 * as bf16_blocks_impl.h has them. */

/* Weight rows of a tile for 1, 2, 3 and 4 rows of x: as many sums as there are registers for. */
#if VN == 16 || defined(BR__VEC_NEON)
#define GEMV_W1 8
#define GEMV_W2 8
#define GEMV_W3 8
#define GEMV_W4 6
#elif VN == 8
#define GEMV_W1 4
#define GEMV_W2 6
#define GEMV_W3 4
#define GEMV_W4 3
#else
#define GEMV_W1 4
#define GEMV_W2 4
#define GEMV_W3 3
#define GEMV_W4 3
#endif
/* Up to so many rows this is faster than packing the weights into blocks. */
#ifndef GEMV_MAX_ROWS
#define GEMV_MAX_ROWS (VN == 8 ? 32 : 16)
#endif
/* Elements of a turn: two cache lines of bfloat16; fewer in the scalar tier, for compile time. */
#define GEMV_TURN (VN == 1 ? 4 : 64)
/* Bytes of weights in a block of work: bounds how long threads wait for the last one. */
#define GEMV_BLOCK_BYTES 131072

/* ---- x --------------------------------------------------------------------------------------- */

/* Floats for the rows of x of one product. */
static int64_t gemv_x_floats(int64_t rows, int64_t k)
{
    return rows * split_padded(k);
}

static void gemv_pack(const struct product *p, float *packed)
{
    const float *x = (const float *)(const void *)p->a.data;
    int64_t padded = split_padded(p->k);
    for (int64_t i = 0; i < p->m; i++) {
        int64_t tile = i / 4 * 4, rows = min_of(p->m - tile, 4);
        float *to = packed + tile * padded + (i - tile) * SPLIT_K;
        for (int64_t k = 0; k < p->k; k += SPLIT_K) {
            int64_t n = min_of(p->k - k, SPLIT_K);
            split_block(to + k * rows, x + i * p->a.ld + k, n, p->b.dtype == BR_BF16);
        }
    }
}

/* ---- one tile -------------------------------------------------------------------------------- */

/* acc[i][j] += block of x row i by block of weight row j.  In this order, which compilers would
 * change for one that needs more registers than there are. */
BR__INLINE void gemv_step(const int rows, const int W, const uint32_t dtype, const float *x,
                          const char *const *w, int64_t at, vf acc[4][8])
{
    BR__UNROLL for (int h = 0; h < 2; h++)
    {
        vf v[8];
        if (rows < W) {
            BR__UNROLL for (int i = 0; i < rows; i++) v[i] = v_load_now(x + i * SPLIT_K + h * VN);
            BR__UNROLL for (int j = 0; j < W; j++)
            {
                vf wv = split_half(w[j] + at, h, dtype);
                BR__KEEP(wv);
                BR__UNROLL for (int i = 0; i < rows; i++) acc[i][j] = v_acc(acc[i][j], v[i], wv);
            }
        } else {
            split_halves(v, w, W, at, h, dtype);
            BR__UNROLL for (int i = 0; i < rows; i++)
            {
                vf xv = v_load_now(x + i * SPLIT_K + h * VN);
                BR__UNROLL for (int j = 0; j < W; j++) acc[i][j] = v_acc(acc[i][j], xv, v[j]);
            }
        }
    }
}

/* The last n < 2 VN elements, with zeros after them. */
BR__INLINE void gemv_tail(const int rows, const int W, const uint32_t dtype, const float *x,
                          const char *const *w, int64_t n, vf acc[4][8])
{
    char part[8][SPLIT_K * sizeof(float)];
    const char *parts[8];
    split_tail(part, parts, w, 0, W, n, dtype);
    gemv_step(rows, W, dtype, x, parts, 0, acc);
}

/* out[i * ldo + at[j]] = the sums, for j < n_valid */
BR__INLINE void gemv_store(const int rows, const int W, vf acc[4][8], float *out, int64_t ldo,
                           const int64_t *at, int n_valid)
{
    float sum[32];
    BR__UNROLL for (int s = 0; s < rows * W; s += 4)
    {
        vf v[4];
        BR__UNROLL for (int u = 0; u < 4; u++)
        {
            int t = s + u < rows * W ? s + u : s;
            v[u] = acc[t / W][t % W];
        }
        v_sum4(sum + s, v);
    }
    BR__UNROLL for (int j = 0; j < W; j++)
    {
        if (j >= n_valid)
            break;
        BR__UNROLL for (int i = 0; i < rows; i++) out[i * ldo + at[j]] = sum[i * W + j];
    }
}

/* Prefetch continuously: while pass t of n reuses cached weight rows it prefetches the t-th part of
 * the next rows.  Each turn requests all lines of a turn's length ahead; many are requested twice,
 * since a busy core drops prefetches. */
struct ahead {
    int64_t from,
        step; /* bytes beyond what is used now: at first, and how much further each turn */
};

static struct ahead ahead_of(int64_t row_bytes, int64_t pass, int64_t n_passes, int64_t turn_bytes)
{
    if (n_passes == 1)
        return (struct ahead){V_AHEAD, 0};
    return (struct ahead){row_bytes + row_bytes * pass / n_passes,
                          turn_bytes / n_passes - turn_bytes};
}

BR__INLINE void gemv_prefetch(const char *const *p, const int W, const int64_t turn, const int more,
                              int64_t ahead)
{
    BR__UNROLL for (int64_t line = 0; line < turn; line += 64)
    {
        BR__UNROLL for (int j = 0; j < W; j++)
        {
            if (more)
                __builtin_prefetch(p[j] + ahead + line, 0, 2);
            else
                __builtin_prefetch(p[j] + ahead + line, 0, V_CACHE);
        }
    }
}

BR__INLINE void gemv_tile(const int rows, const int W, const uint32_t dtype, const int more,
                          const float *x, const char *const *w, int64_t k_end, struct ahead ahead,
                          float *out, int64_t ldo, const int64_t *at, int n_valid)
{
    const int64_t size = br__float_size(dtype), turn = GEMV_TURN * size;
    const char *p[8];
    vf acc[4][8];
    BR__UNROLL for (int j = 0; j < W; j++) p[j] = w[j];
    BR__UNROLL for (int i = 0; i < rows; i++)
    {
        BR__UNROLL for (int j = 0; j < W; j++) acc[i][j] = v_zero();
    }
    int64_t k = 0;
    for (; k + GEMV_TURN <= k_end; k += GEMV_TURN) {
        BR__UNROLL for (int u = 0; u < GEMV_TURN; u += SPLIT_K)
            gemv_step(rows, W, dtype, x + u * rows, p, u * size, acc);
        gemv_prefetch(p, W, turn, more, ahead.from);
        ahead.from += ahead.step;
        x += GEMV_TURN * rows;
        BR__UNROLL for (int j = 0; j < W; j++)
        {
            p[j] += turn;
            BR__KEEP_POINTER(p[j]);
        }
    }
    for (; k + SPLIT_K <= k_end; k += SPLIT_K) {
        gemv_step(rows, W, dtype, x, p, 0, acc);
        x += SPLIT_K * rows;
        BR__UNROLL for (int j = 0; j < W; j++) p[j] += SPLIT_K * size;
    }
    if (k < k_end)
        gemv_tail(rows, W, dtype, x, p, k_end - k, acc);
    gemv_store(rows, W, acc, out, ldo, at, n_valid);
}

/* Each a function of its own: inlined side by side they would take registers from each other. */
typedef void gemv_tile_fn(const float *x, const char *const *w, int64_t k_end, struct ahead ahead,
                          float *out, int64_t ldo, const int64_t *at, int n_valid);

#define TILE(name, rows, W, dtype, more)                                                           \
    static __attribute__((noinline)) void name(const float *x, const char *const *w,               \
                                               int64_t k_end, struct ahead ahead, float *out,      \
                                               int64_t ldo, const int64_t *at, int n_valid)        \
    {                                                                                              \
        gemv_tile(rows, W, dtype, more, x, w, k_end, ahead, out, ldo, at, n_valid);                \
    }
/* The tiles of products of 1 to 4 rows, and of four rows or what is left of more: these ask for
 * rows that come later, while they use what is in the first cache. */
#define TILES(t, dtype)                                                                            \
    TILE(t##_1, 1, GEMV_W1, dtype, 0)                                                              \
    TILE(t##_2, 2, GEMV_W2, dtype, 0)                                                              \
    TILE(t##_3, 3, GEMV_W3, dtype, 0)                                                              \
    TILE(t##_4, 4, GEMV_W4, dtype, 0)                                                              \
    TILE(t##_1of, 1, GEMV_W4, dtype, 1)                                                            \
    TILE(t##_2of, 2, GEMV_W4, dtype, 1)                                                            \
    TILE(t##_3of, 3, GEMV_W4, dtype, 1)                                                            \
    TILE(t##_4of, 4, GEMV_W4, dtype, 1)
#define TILE_ROW(t)                                                                                \
    {                                                                                              \
        {t##_1, t##_2, t##_3, t##_4},                                                              \
        {                                                                                          \
            t##_1of, t##_2of, t##_3of, t##_4of                                                     \
        }                                                                                          \
    }
TILES(tile_bf16, BR_BF16)
#ifndef BR__MATRIX_ONLY
TILES(tile_f32, BR_F32)
TILES(tile_f16, BR_F16)
#endif

/* By rows - 1, of a product of up to four rows and of one of more. */
static gemv_tile_fn *gemv_tile_for(uint32_t dtype, int more, int64_t rows)
{
    static gemv_tile_fn *const bf16[2][4] = TILE_ROW(tile_bf16);
#ifndef BR__MATRIX_ONLY
    static gemv_tile_fn *const f32[2][4] = TILE_ROW(tile_f32), *const f16[2][4] =
                                                                   TILE_ROW(tile_f16);
    if (dtype == BR_F32)
        return f32[more][rows - 1];
    if (dtype == BR_F16)
        return f16[more][rows - 1];
#endif
    (void)dtype;
    return bf16[more][rows - 1];
}

/* ---- all rows of x by the rows of the weight ------------------------------------------------- */

/* Streams (the rows of a tile), their length in rows, and how many rows of each a block takes. */
struct gemv_plan {
    int64_t n_streams, length, step;
};

static struct gemv_plan gemv_plan(const struct product *p, int64_t threads)
{
    static const int64_t widths[] = {GEMV_W1, GEMV_W2, GEMV_W3, GEMV_W4};
    int64_t size = br__float_size(p->b.dtype), w = widths[p->m < 4 ? p->m - 1 : 3];
    int64_t length = (p->n + w - 1) / w, bytes = length * w * size * p->k;
    /* Two blocks for each thread or more, and as many for each. */
    int64_t turns = bytes / (GEMV_BLOCK_BYTES * threads) + 1, blocks = threads * max_of(turns, 2);
    return (struct gemv_plan){w, length, (length + blocks - 1) / blocks};
}

static int64_t gemv_n_blocks(const struct product *p, int64_t threads)
{
    struct gemv_plan d = gemv_plan(p, threads);
    return (d.length + d.step - 1) / d.step;
}

/* Up to four rows of x, multiplied with every tile of weight rows. */
struct gemv_pass {
    gemv_tile_fn *tile;
    struct ahead ahead; /* of the pass that runs in this position */
    const float *x;
    float *out;
};
#define GEMV_MAX_PASSES ((GEMV_MAX_ROWS + 3) / 4)

static int gemv_passes(const struct product *p, const float *x, struct gemv_pass *passes)
{
    int64_t size = br__float_size(p->b.dtype);
    int n = (int)((p->m + 3) / 4);
    for (int t = 0; t < n; t++) {
        int64_t i = 4 * t, rows = min_of(p->m - i, 4);
        passes[t] = (struct gemv_pass){gemv_tile_for(p->b.dtype, n > 1, rows),
                                       ahead_of(p->b.ld * size, t, n, GEMV_TURN * size),
                                       x + i * split_padded(p->k), p->out + i * p->ldo};
    }
    return n;
}

/* x: from gemv_pack */
static void gemv_block(const struct product *p, int64_t threads, const float *x, int64_t block)
{
    struct gemv_plan d = gemv_plan(p, threads);
    struct gemv_pass passes[GEMV_MAX_PASSES];
    int n_passes = gemv_passes(p, x, passes);
    int64_t to = min_of(block * d.step + d.step, d.length);
    int64_t row_bytes = p->b.ld * br__float_size(p->b.dtype);
    for (int64_t r = block * d.step; r < to; r++) {
        const char *w[8];
        int64_t at[8];
        int n_valid = 0;
        for (int j = 0; j < d.n_streams; j++) {
            at[j] = j * d.length + r;
            /* The last streams may be shorter: read a row twice, store it once. */
            int64_t row = at[j] < p->n ? at[j] : p->n - 1;
            n_valid += at[j] < p->n;
            w[j] = p->b.data + row * row_bytes;
        }
        for (int t = 0; t < n_passes; t++) {
            /* Alternate the direction: the rows of x used last are still in the first-level cache.
             */
            const struct gemv_pass *pass = &passes[r & 1 ? n_passes - 1 - t : t];
            pass->tile(pass->x, w, p->k, passes[t].ahead, pass->out, p->ldo, at, n_valid);
        }
    }
}
