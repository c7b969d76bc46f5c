/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* gemm_body.h - products of many rows, through packed blocks, as fast as the tier multiplies.
 *
 * k is counted in units of 32 bits: one float, or a pair of bfloat16 where UNIT_K is 2.  Panels:
 *   a: GEMM_MR rows (the last fewer),           packed[k][rows]  shared by all lanes, made first
 *      with tiles (BR__TILES) GEMM_MR rows,     packed[rows][k], zeros in rows and k that are none
 *   b: GEMM_NR columns (the last with zeros),   packed[k][NR]    made by the lane, for one block
 * of KC units each, so that a panel of b stays in the first-level cache while panels of a pass from
 * the second.  The innermost loop keeps GEMM_MR x GEMM_NR sums in registers. */

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
#define UNIT_ROUND 16
#else
#define GEMM_KC 256
#define UNIT_ROUND 1
#endif
#define GEMM_MC (16 * GEMM_MR) /* rows of a that stay in the second-level cache */
#define GEMM_NB 256            /* columns of a block of work, at most */

#define GEMM_LANE_FLOATS (GEMM_NB * GEMM_KC)
/* Rows of a block whose result is bfloat16, at most: its sums are float32 until they are complete. */
#define GEMM_HALF_ROWS (2048 / GEMM_MC * GEMM_MC)

#ifdef BR__TILES
#include "amx_body.h"
#else
#define tiles_begin() (void)0
#define tiles_end() (void)0
#endif
#ifdef BR__PAIRS
#include "unit_pair.h"
#else
#include "unit_f32.h"
#endif

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- packing --------------------------------------------------------------------------------- */

/* The first n floats of v.  room: floats that may be written, as those after the first n are still to
 * come: copying n floats one by one takes longer than to make them. */
BR__INLINE void store_part(float *dst, vf v, int64_t n, int64_t room)
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
BR__INLINE int64_t pack_whole(float *dst, int64_t width, const struct mat *m, const uint32_t dtype,
                              int64_t i, int64_t k0, int64_t kc)
{
    const int64_t size = br__float_size(dtype);
    const int widened = UNIT_K == 1 && dtype == BR_BF16;
    const int64_t step = widened ? 2 * VN : VN;
    int64_t k = 0;
    if (dtype == BR_F16 || (UNIT_K == 2 && dtype == BR_F32))
        return 0;
    for (; k + step <= kc; k += step) {
        vf r[VN];
        v_turned(r, m->data + (i * m->ld + (k0 + k) * UNIT_K) * size, m->ld * size);
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
BR__INLINE void pack(float *dst, int64_t width, const struct mat *m, const uint32_t dtype, int64_t i0,
                     int64_t n_i, int64_t k0, int64_t kc, int64_t k_end)
{
    for (int64_t g = 0; g < width; g += VN) {
        int64_t lanes = min_of(width - g, VN), n = min_of(n_i - g, VN), k = 0;
        int64_t room = width <= VN ? kc * width : 0; /* only then are the next k's what comes next */
        if (m->k_major) {
            for (; k < kc; k++)
                store_part(dst + k * width + g, unit_across(m, dtype, i0 + g, n, k0 + k, k_end),
                           lanes, room - k * width);
            continue;
        }
        if (n == VN)
            k = pack_whole(dst + g, width, m, dtype, i0 + g, k0, min_of(kc, k_end / UNIT_K - k0));
        for (; k < kc; k += VN) {
            vf r[VN];
            for (int t = 0; t < VN; t++)
                r[t] = t < n ? unit_along(m, dtype, i0 + g + t, k0 + k, k_end) : v_zero();
            v_transpose(r);
            for (int t = 0; t < VN && k + t < kc; t++)
                store_part(dst + (k + t) * width + g, r[t], lanes, room - (k + t) * width);
        }
    }
}

static int64_t units(int64_t k)
{
    return (k + UNIT_K * UNIT_ROUND - 1) / (UNIT_K * UNIT_ROUND) * UNIT_ROUND;
}

#ifdef BR__TILES
static int64_t gemm_rows(int64_t m)
{
    return (m + GEMM_MR - 1) / GEMM_MR * GEMM_MR;
}

/* dst[rows][kc] = units k0 .. k0 + kc of rows i0 .. i0 + n_i of m, zeros in the other rows. */
BR__INLINE void pack_rows(float *dst, const struct mat *m, const uint32_t dtype, int64_t i0,
                          int64_t n_i, int64_t k0, int64_t kc, int64_t k_end)
{
    for (int64_t g = 0; g < GEMM_MR; g += VN)
        for (int64_t k = 0; k < kc; k += VN) {
            vf r[VN];
            for (int t = 0; t < VN; t++) {
                if (m->k_major)
                    r[t] = unit_across(m, dtype, i0 + g, n_i - g, k0 + k + t, k_end);
                else
                    r[t] = g + t < n_i ? unit_along(m, dtype, i0 + g + t, k0 + k, k_end) : v_zero();
            }
            if (m->k_major)
                v_transpose(r);
            for (int t = 0; t < VN; t++)
                v_store(dst + (g + t) * kc + k, r[t]);
        }
}
#define PACK_A(dst, rows, m, dtype, i0, k0, kc, k_end)                                             \
    pack_rows(dst, m, dtype, i0, rows, k0, kc, k_end)
#else
static int64_t gemm_rows(int64_t m)
{
    return m;
}
#define PACK_A(dst, rows, m, dtype, i0, k0, kc, k_end)                                             \
    pack(dst, rows, m, dtype, i0, rows, k0, kc, k_end)
#endif

static int64_t gemm_a_units(const struct product *p)
{
    return gemm_rows(p->m) * units(p->k);
}

/* Room for all of a, of n products that have this many rows (of k elements) together, or that have k
 * rows each and this many elements along k together.  Rounding up adds less than one panel of rows,
 * or one UNIT_ROUND of units, to each. */
static size_t gemm_max_bytes(int64_t rows, int64_t k, int64_t n)
{
    int64_t along = (rows + n * (gemm_rows(1) - 1)) * units(k);
    int64_t across = gemm_rows(k) * (units(rows) + n * UNIT_ROUND);
    return (size_t)(along > across ? along : across) * sizeof(float);
}

static void gemm_pack_panel(float *dst, const struct mat *a, int64_t i, int64_t rows, int64_t k0,
                            int64_t kc, int64_t k_end)
{
    if (a->dtype == BR_BF16)
        PACK_A(dst, rows, a, BR_BF16, i, k0, kc, k_end);
    else
        PACK_A(dst, rows, a, BR_F32, i, k0, kc, k_end);
}

/* All of a; each lane its panels.  Panel i0 of the units from k0 is at k0 * m + i0 * kc. */
static void gemm_pack_a(const struct br_call *c, const struct product *p, float *packed)
{
    int64_t from, to, ku = units(p->k);
    br__lane_range(c, p->m, GEMM_MR, &from, &to);
    for (int64_t k0 = 0; k0 < ku; k0 += GEMM_KC) {
        int64_t kc = min_of(GEMM_KC, ku - k0);
        for (int64_t i = from; i < to; i += GEMM_MR) {
            int64_t rows = min_of(GEMM_MR, p->m - i);
            gemm_pack_panel(packed + k0 * gemm_rows(p->m) + i * kc, &p->a, i, rows, k0, kc, p->k);
        }
    }
}

/* Columns j0 .. j0 + n of b. */
BR__INLINE void pack_b(const uint32_t dtype, const struct product *p, float *dst, int64_t j0,
                       int64_t n, int64_t k0, int64_t kc)
{
    for (int64_t j = 0; j < n; j += GEMM_NR)
        pack(dst + j * kc, GEMM_NR, &p->b, dtype, j0 + j, min_of(GEMM_NR, n - j), k0, kc, p->k);
}

static void gemm_pack_b(const struct product *p, float *dst, int64_t j0, int64_t n, int64_t k0,
                        int64_t kc)
{
    if (p->b.dtype == BR_BF16)
        pack_b(BR_BF16, p, dst, j0, n, k0, kc);
    else if (p->b.dtype == BR_F16)
        pack_b(BR_F16, p, dst, j0, n, k0, kc);
    else
        pack_b(BR_F32, p, dst, j0, n, k0, kc);
}

/* ---- the innermost loop ------------------------------------------------------------------------ */

#ifdef BR__TILES

/* out[rows, cols] (+)= a b over kc units */
static void micro(int64_t rows, int64_t kc, const float *a, const float *b, float *out, int64_t ldo,
                  int64_t cols, int add)
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
BR__INLINE void micro_of(const int rows, int64_t kc, const float *a, const float *b, float *out,
                      int64_t ldo, int64_t cols, int add)
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
            BR__UNROLL for (int v = 0; v < GEMM_NV; v++) acc[i][v] = unit_fma(av, bv[v], acc[i][v]);
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

static void micro(int64_t rows, int64_t kc, const float *a, const float *b, float *out,
                       int64_t ldo, int64_t cols, int add)
{
#define ROWS(n)                                                                                    \
    case n:                                                                                        \
        micro_of(n, kc, a, b, out, ldo, cols, add);                                                   \
        break;
    switch (rows) {
        ROWS(1) ROWS(2) ROWS(3) ROWS(4)
#if GEMM_MR >= 6
        ROWS(5) ROWS(6)
#endif
#if GEMM_MR >= 8
        ROWS(7) ROWS(8)
#endif
#if GEMM_MR >= 14
        ROWS(9) ROWS(10) ROWS(11) ROWS(12) ROWS(13) ROWS(14)
#endif
    }
#undef ROWS
}

#endif

/* ---- blocks of work -------------------------------------------------------------------------------
 */

/* Columns and rows of a block.  Eight blocks or more for each lane, so that they end together. */
struct gemm_plan {
    int64_t nb, mb, n_row_blocks, n;
};

static struct gemm_plan gemm_plan(const struct product *p, uint32_t n_lanes)
{
    int64_t lanes = n_lanes, want = n_lanes == 1 ? 1 : 8 * lanes;
    int64_t nb = (p->n / want + GEMM_NR - 1) / GEMM_NR * GEMM_NR;
    nb = nb < 4 * GEMM_NR ? 4 * GEMM_NR : min_of(nb, GEMM_NB / GEMM_NR * GEMM_NR);
    int64_t columns = (p->n + nb - 1) / nb, split = (lanes + columns - 1) / columns;
    int64_t mb = ((p->m + split - 1) / split + GEMM_MC - 1) / GEMM_MC * GEMM_MC;
    if (p->half && mb > GEMM_HALF_ROWS)
        mb = GEMM_HALF_ROWS;
    int64_t n_rows = (p->m + mb - 1) / mb;
    return (struct gemm_plan){nb, mb, n_rows, n_rows * columns};
}

static int64_t gemm_n_blocks(const struct product *p, uint32_t n_lanes)
{
    return gemm_plan(p, n_lanes).n;
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
                micro(min_of(GEMM_MR, s->i1 - i), kc, a + i * kc, b + j * kc,
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
    int64_t j0 = block / g.n_row_blocks * g.nb, n = min_of(g.nb, p->n - j0), ku = units(p->k);
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
