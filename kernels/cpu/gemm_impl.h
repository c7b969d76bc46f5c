/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* gemm_impl.h - products of many rows, through packed blocks, as fast as the tier multiplies.
 *
 * Needs: struct product of matmul_impl.h, which includes this; BR__TILES, BR__PAIRS or neither.
 * Defines: gemm_*, tiles_begin, tiles_end.
 *
 * k is counted in units of 32 bits: one float, or a pair of bfloat16 where GEMM_UNIT is 2.  Panels:
 *   a: GEMM_MR rows (the last fewer),           packed[k][rows]  made first, shared by all threads
 *      with tiles (BR__TILES) GEMM_MR rows,     packed[rows][k], zeros in missing rows and k
 *   b: GEMM_NR columns (the last with zeros),   packed[k][NR]    made by a thread for one block
 * of KC units each, so that a panel of b stays in the first-level cache while panels of a stream
 * from the second.  The innermost loop keeps GEMM_MR x GEMM_NR sums in registers. */

#if defined(BR__TILES)
#define GEMM_MR 32
#define GEMM_NV 2
#elif VN == 16
#define GEMM_MR 14
#define GEMM_NV 2
#elif VN == 8
#define GEMM_MR 6
#define GEMM_NV 2
#elif VN == 4
#define GEMM_MR 8
#define GEMM_NV 2
#else
#define GEMM_MR 4
#define GEMM_NV 2
#endif
#define GEMM_NR (GEMM_NV * VN)

#ifdef BR__TILES
#define GEMM_KC 512 /* units of k in a panel */
#define GEMM_UNIT_ROUND 16
#else
#define GEMM_KC 256
#define GEMM_UNIT_ROUND 1
#endif
#define GEMM_MC (16 * GEMM_MR) /* rows of a that stay in the second-level cache */
#define GEMM_NB 256            /* columns of a block of work, at most */

#define GEMM_LANE_FLOATS (GEMM_NB * GEMM_KC)
/* Rows of a block whose result is bfloat16, at most: its sums are float32 until they are complete.
 */
#define GEMM_HALF_ROWS ((2048 + GEMM_MC - 1) / GEMM_MC * GEMM_MC)

#ifdef BR__TILES
#include "amx_impl.h"
#else
#define tiles_begin() (void)0
#define tiles_end() (void)0
#endif
#ifdef BR__PAIRS
#include "gemm_elem_bf16_impl.h"
#else
#include "gemm_elem_f32_impl.h"
#endif

/* ---- packing --------------------------------------------------------------------------------- */

/* Store the first n floats of v.  room: floats that may be overwritten because later stores
 * replace them; a full-vector store is faster than copying n floats. */
BR__INLINE void gemm_store_part(float *dst, vf v, int64_t n, int64_t room)
{
    float part[VN];
    if (n >= VN || room >= VN) {
        v_store(dst, v);
        return;
    }
    v_store(part, v);
    memcpy(dst, part, (size_t)n * sizeof *dst);
}

/* dst[k][width] = units k0 .. k0 + kc of rows i .. i + VN of m, as many as make whole vectors;
 * returns how many.  Rounded units are not among them. */
BR__INLINE int64_t gemm_pack_whole(float *dst, int64_t width, const struct mat *m,
                                   const uint32_t dtype, int64_t i, int64_t k0, int64_t kc)
{
    const int64_t size = br__float_size(dtype);
    const int widened = GEMM_UNIT == 1 && dtype == BR_BF16;
    const int64_t step = widened ? 2 * VN : VN;
    int64_t k = 0;
    if (dtype == BR_F16 || (GEMM_UNIT == 2 && dtype == BR_F32))
        return 0;
    for (; k + step <= kc; k += step) {
        vf r[VN];
        v_load_transposed(r, m->data + (i * m->ld + (k0 + k) * GEMM_UNIT) * size, m->ld * size);
        BR__UNROLL for (int t = 0; t < VN; t++)
        {
            float *to = dst + (k + (widened ? 2 * t : t)) * width;
            v_store(to, widened ? v_low_bf16(r[t]) : r[t]);
            if (widened)
                v_store(to + width, v_high_bf16(r[t]));
        }
    }
    return k;
}

/* dst[k][width] = units k0 .. k0 + kc of rows i0 .. i0 + n_i of m, and zeros up to width.  m has
 * k_end elements along k. */
BR__INLINE void gemm_pack(float *dst, int64_t width, const struct mat *m, const uint32_t dtype,
                          int64_t i0, int64_t n_i, int64_t k0, int64_t kc, int64_t k_end)
{
    for (int64_t g = 0; g < width; g += VN) {
        int64_t n_vec = min_of(width - g, VN), n = min_of(n_i - g, VN), k = 0;
        int64_t room = width <= VN ? kc * width : 0; /* only then do the next k's floats follow */
        if (m->k_major) {
            for (; k < kc; k++)
                gemm_store_part(dst + k * width + g,
                                gemm_unit_across(m, dtype, i0 + g, n, k0 + k, k_end), n_vec,
                                room - k * width);
            continue;
        }
        if (n == VN)
            k = gemm_pack_whole(dst + g, width, m, dtype, i0 + g, k0,
                                min_of(kc, k_end / GEMM_UNIT - k0));
        for (; k < kc; k += VN) {
            vf r[VN];
            for (int t = 0; t < VN; t++)
                r[t] = t < n ? gemm_unit_along(m, dtype, i0 + g + t, k0 + k, k_end) : v_zero();
            v_transpose(r);
            for (int t = 0; t < VN && k + t < kc; t++)
                gemm_store_part(dst + (k + t) * width + g, r[t], n_vec, room - (k + t) * width);
        }
    }
}

static int64_t gemm_units(int64_t k)
{
    return (k + GEMM_UNIT * GEMM_UNIT_ROUND - 1) / (GEMM_UNIT * GEMM_UNIT_ROUND) * GEMM_UNIT_ROUND;
}

#ifdef BR__TILES
static int64_t gemm_rows(int64_t m)
{
    return (m + GEMM_MR - 1) / GEMM_MR * GEMM_MR;
}

/* dst[rows][kc] = units k0 .. k0 + kc of rows i0 .. i0 + n_i of m, zeros in the other rows. */
BR__INLINE void gemm_pack_rows(float *dst, const struct mat *m, const uint32_t dtype, int64_t i0,
                               int64_t n_i, int64_t k0, int64_t kc, int64_t k_end)
{
    for (int64_t g = 0; g < GEMM_MR; g += VN)
        for (int64_t k = 0; k < kc; k += VN) {
            vf r[VN];
            for (int t = 0; t < VN; t++) {
                if (m->k_major)
                    r[t] = gemm_unit_across(m, dtype, i0 + g, n_i - g, k0 + k + t, k_end);
                else
                    r[t] = g + t < n_i ? gemm_unit_along(m, dtype, i0 + g + t, k0 + k, k_end)
                                       : v_zero();
            }
            if (m->k_major)
                v_transpose(r);
            for (int t = 0; t < VN; t++)
                v_store(dst + (g + t) * kc + k, r[t]);
        }
}
#define PACK_A(dst, rows, m, dtype, i0, k0, kc, k_end)                                             \
    gemm_pack_rows(dst, m, dtype, i0, rows, k0, kc, k_end)
#else
static int64_t gemm_rows(int64_t m)
{
    return m;
}
#define PACK_A(dst, rows, m, dtype, i0, k0, kc, k_end)                                             \
    gemm_pack(dst, rows, m, dtype, i0, rows, k0, kc, k_end)
#endif

static int64_t gemm_a_units(const struct product *p)
{
    return gemm_rows(p->m) * gemm_units(p->k);
}

/* Room for all of a, of n products that have this many rows (of k elements) together, or that have
 * k rows each and this many elements along k together.  Rounding up adds less than one panel of
 * rows, or one GEMM_UNIT_ROUND of units, to each. */
static size_t gemm_max_bytes(int64_t rows, int64_t k, int64_t n)
{
    int64_t along = (rows + n * (gemm_rows(1) - 1)) * gemm_units(k);
    int64_t across = gemm_rows(k) * (gemm_units(rows) + n * GEMM_UNIT_ROUND);
    return (size_t)max_of(along, across) * sizeof(float);
}

static void gemm_pack_panel(float *dst, const struct mat *a, int64_t i, int64_t rows, int64_t k0,
                            int64_t kc, int64_t k_end)
{
    if (a->dtype == BR_BF16)
        PACK_A(dst, rows, a, BR_BF16, i, k0, kc, k_end);
    else
        PACK_A(dst, rows, a, BR_F32, i, k0, kc, k_end);
}

/* All of a; each thread its panels.  Panel i0 of the units from k0 is at k0 * m + i0 * kc. */
static void gemm_pack_a(const struct br_call *c, const struct product *p, float *packed)
{
    int64_t from, to, ku = gemm_units(p->k);
    br__thread_range(c, p->m, GEMM_MR, &from, &to);
    for (int64_t k0 = 0; k0 < ku; k0 += GEMM_KC) {
        int64_t kc = min_of(GEMM_KC, ku - k0);
        for (int64_t i = from; i < to; i += GEMM_MR) {
            int64_t rows = min_of(GEMM_MR, p->m - i);
            gemm_pack_panel(packed + k0 * gemm_rows(p->m) + i * kc, &p->a, i, rows, k0, kc, p->k);
        }
    }
}

/* Columns j0 .. j0 + n of b. */
BR__INLINE void gemm_pack_b_of(const uint32_t dtype, const struct product *p, float *dst,
                               int64_t j0, int64_t n, int64_t k0, int64_t kc)
{
    for (int64_t j = 0; j < n; j += GEMM_NR)
        gemm_pack(dst + j * kc, GEMM_NR, &p->b, dtype, j0 + j, min_of(GEMM_NR, n - j), k0, kc,
                  p->k);
}

static void gemm_pack_b(const struct product *p, float *dst, int64_t j0, int64_t n, int64_t k0,
                        int64_t kc)
{
    if (p->b.dtype == BR_BF16)
        gemm_pack_b_of(BR_BF16, p, dst, j0, n, k0, kc);
    else if (p->b.dtype == BR_F16)
        gemm_pack_b_of(BR_F16, p, dst, j0, n, k0, kc);
    else
        gemm_pack_b_of(BR_F32, p, dst, j0, n, k0, kc);
}

/* ---- the innermost loop ---------------------------------------------------------------------- */

#ifdef BR__TILES

/* out[rows, cols] (+)= a b over kc units */
static void gemm_micro(int64_t rows, int64_t kc, const float *a, const float *b, float *out,
                       int64_t ldo, int64_t cols, int add)
{
    _Alignas(64) float sum[GEMM_MR * GEMM_NR];
    if (rows == GEMM_MR && cols >= GEMM_NR) {
        tiles_multiply(kc, a, kc, b, out, ldo, add);
        return;
    }
    tiles_multiply(kc, a, kc, b, sum, GEMM_NR, 0);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t v = 0; v < GEMM_NR && v < cols; v += VN) {
            float *to = out + i * ldo + v;
            int n = (int)min_of(cols - v, VN);
            vf s = v_load(sum + i * GEMM_NR + v);
            v_store_n(to, add ? v_add(v_load_n(to, n), s) : s, n);
        }
}

#else

/* out[rows, cols] (+)= a b over kc units */
BR__INLINE void gemm_micro_rows(const int rows, int64_t kc, const float *a, const float *b,
                                float *out, int64_t ldo, int64_t cols, int add)
{
    vf acc[GEMM_MR][GEMM_NV];
    BR__UNROLL for (int i = 0; i < rows; i++)
    {
        BR__UNROLL for (int v = 0; v < GEMM_NV; v++) acc[i][v] = v_zero();
    }
    BR__UNROLL for (int i = 0; i < rows; i++) __builtin_prefetch(out + i * ldo, 1, 3);
    for (int64_t k = 0; k < kc; k++) {
        vf bv[GEMM_NV];
        BR__UNROLL for (int v = 0; v < GEMM_NV; v++) bv[v] = v_load(b + k * GEMM_NR + v * VN);
        BR__UNROLL for (int i = 0; i < rows; i++)
        {
            vf av = v_set1(a[k * rows + i]);
            BR__UNROLL for (int v = 0; v < GEMM_NV; v++) acc[i][v] =
                gemm_unit_fma(av, bv[v], acc[i][v]);
        }
    }
    BR__UNROLL for (int i = 0; i < rows; i++)
    {
        BR__UNROLL for (int v = 0; v < GEMM_NV; v++)
        {
            float *to = out + i * ldo + v * VN;
            int n = (int)min_of(cols - v * VN, VN);
            if (n == VN)
                v_store(to, add ? v_add(v_load(to), acc[i][v]) : acc[i][v]);
            else if (n > 0)
                v_store_n(to, add ? v_add(v_load_n(to, n), acc[i][v]) : acc[i][v], n);
        }
    }
}

static void gemm_micro(int64_t rows, int64_t kc, const float *a, const float *b, float *out,
                       int64_t ldo, int64_t cols, int add)
{
#define ROWS(n)                                                                                    \
    case n:                                                                                        \
        gemm_micro_rows(n, kc, a, b, out, ldo, cols, add);                                         \
        break
    switch (rows) {
        ROWS(1);
        ROWS(2);
        ROWS(3);
        ROWS(4);
#if GEMM_MR >= 6
        ROWS(5);
        ROWS(6);
#endif
#if GEMM_MR >= 8
        ROWS(7);
        ROWS(8);
#endif
#if GEMM_MR >= 14
        ROWS(9);
        ROWS(10);
        ROWS(11);
        ROWS(12);
        ROWS(13);
        ROWS(14);
#endif
    }
#undef ROWS
}

#endif

/* ---- blocks of work -------------------------------------------------------------------------- */

/* Columns and rows of a block.  Eight blocks or more for each thread balance the load. */
struct gemm_plan {
    int64_t nb, mb, n_row_blocks, n;
};

static struct gemm_plan gemm_plan(const struct product *p, uint32_t n_threads)
{
    int64_t threads = n_threads, want = n_threads == 1 ? 1 : 8 * threads;
    int64_t nb = (p->n / want + GEMM_NR - 1) / GEMM_NR * GEMM_NR;
    nb = nb < 4 * GEMM_NR ? 4 * GEMM_NR : min_of(nb, GEMM_NB / GEMM_NR * GEMM_NR);
    int64_t columns = (p->n + nb - 1) / nb, split = (threads + columns - 1) / columns;
    int64_t mb = ((p->m + split - 1) / split + GEMM_MC - 1) / GEMM_MC * GEMM_MC;
    if (p->half && mb > GEMM_HALF_ROWS)
        mb = GEMM_HALF_ROWS;
    int64_t n_rows = (p->m + mb - 1) / mb;
    return (struct gemm_plan){nb, mb, n_rows, n_rows * columns};
}

static int64_t gemm_n_blocks(const struct product *p, uint32_t n_threads)
{
    return gemm_plan(p, n_threads).n;
}

/* A block of sums: rows i0 .. i1, n columns. */
struct gemm_sums {
    float *at;
    int64_t ld, i0, i1, n;
};

/* Over kc units; a is packed from row 0 on, b from the block's first column. */
static void gemm_panels(const struct gemm_sums *s, const float *a, const float *b, int64_t kc,
                        int add)
{
    for (int64_t ic = s->i0; ic < s->i1; ic += GEMM_MC)
        for (int64_t j = 0; j < s->n; j += GEMM_NR)
            for (int64_t i = ic; i < min_of(ic + GEMM_MC, s->i1); i += GEMM_MR)
                gemm_micro(min_of(GEMM_MR, s->i1 - i), kc, a + i * kc, b + j * kc,
                           s->at + (i - s->i0) * s->ld + j, s->ld, s->n - j, add);
}

/* Sums to bfloat16: rows i0 .. i1, columns from j0 on of p->half. */
static void gemm_round(const struct product *p, const struct gemm_sums *s, int64_t j0)
{
    for (int64_t i = s->i0; i < s->i1; i++)
        narrow(p->half + i * p->ldo + j0, s->at + (i - s->i0) * s->ld, s->n);
}

static void gemm_block(const struct br_call *c, const struct product *p, const float *a,
                       int64_t block, float *b)
{
    struct gemm_plan g = gemm_plan(p, c->stream->n_threads);
    int64_t i0 = block % g.n_row_blocks * g.mb, i1 = min_of(i0 + g.mb, p->m);
    int64_t j0 = block / g.n_row_blocks * g.nb, n = min_of(g.nb, p->n - j0), ku = gemm_units(p->k);
    struct gemm_sums s = {b + GEMM_LANE_FLOATS, GEMM_NB, i0, i1, n};
    if (!p->half) {
        s.at = p->out + i0 * p->ldo + j0;
        s.ld = p->ldo;
    }
    for (int64_t i = i0; ku == 0 && !p->add && i < i1; i++)
        zero(s.at + (i - i0) * s.ld, n);
    for (int64_t k0 = 0; k0 < ku; k0 += GEMM_KC) {
        int64_t kc = min_of(GEMM_KC, ku - k0);
        gemm_pack_b(p, b, j0, n, k0, kc);
        gemm_panels(&s, a + k0 * gemm_rows(p->m), b, kc, p->add || k0 > 0);
    }
    if (p->half)
        gemm_round(p, &s, j0);
}
