/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* columns.cu - sums over rows: SUM_ROWS and RMSNORM_DW.
 *
 * Two launches: each block sums ROWS_AT_ONCE rows into a row of scratch, then the rows of scratch
 * are added in order. */
#include "host.cuh"

#define ROWS_AT_ONCE 64

/* The sum over the rows of a part of what `term` makes of (row, column). */
template <class Term>
BR_KERNEL(256, 1)
sum_parts(float *parts, uint32_t count, uint32_t cols, Term term)
{
    const uint32_t n_parts = (uint32_t)div_up(count, ROWS_AT_ONCE);
    for (uint32_t p = blockIdx.y; p < n_parts; p += gridDim.y)
        for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < cols;
             i += gridDim.x * blockDim.x) {
            const uint32_t end = (uint32_t)min_of(count, (int64_t)(p + 1) * ROWS_AT_ONCE);
            float sum = 0;
            for (uint32_t r = p * ROWS_AT_ONCE; r < end; r++)
                sum += term(r, i);
            parts[(int64_t)p * cols + i] = sum;
        }
}

BR_KERNEL(256, 1) add_parts(float *o, const float *parts, uint32_t n_parts, uint32_t cols)
{
    for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < cols;
         i += gridDim.x * blockDim.x) {
        float sum = 0;
        for (uint32_t p = 0; p < n_parts; p++)
            sum += parts[(int64_t)p * cols + i];
        o[i] = sum;
    }
}

static size_t parts_floats(uint32_t count, uint32_t cols)
{
    return (size_t)div_up(count, ROWS_AT_ONCE) * cols;
}

template <class Term>
static void sum_columns(const struct br_call *c, float *parts, uint32_t count, uint32_t cols,
                        Term term)
{
    const uint32_t n_parts = (uint32_t)div_up(count, ROWS_AT_ONCE);
    const unsigned x = (unsigned)div_up(cols, 256);
    BR_LAUNCH(c, sum_parts<Term>, dim3(x, (unsigned)min_of(n_parts, MAX_GRID_Y)), 256, 0, parts,
              count, cols, term);
    BR_LAUNCH(c, add_parts, x, 256, 0, (float *)c->out->data, (const float *)parts, n_parts, cols);
}

/* ---- SUM_ROWS -------------------------------------------------------------------------------- */

struct element {
    struct rows x;
    BR_INLINE float operator()(uint32_t r, uint32_t i) const
    {
        return x.read(x.at(r) + i);
    }
};

SCRATCH_FUNCTION(sum_rows)
{
    struct rows x = rows_of(&c->in[0]);
    return parts_floats(x.count, x.cols) * sizeof(float);
}

ROW_FUNCTION(sum_rows)
{
    struct rows x = rows_of(&c->in[0]);
    sum_columns(c, (float *)c->scratch, x.count, x.cols, element{x});
}

/* ---- RMSNORM_DW: the sum of y x rsqrt(mean(x^2) + eps) --------------------------------------- */

/* inv[r] of each row, a warp to a row. */
BR_KERNEL(TEAM_THREADS, 1) inverse_rms(float *inv, struct rows x, float eps)
{
    for (uint32_t r = team<1>::first(); r < x.count; r += team<1>::step()) {
        const int64_t at = x.at(r);
        float sum = 0;
        for (uint32_t i = team<1>::rank(); i < x.cols; i += team<1>::size)
            sum = fmaf(x.read(at + i), x.read(at + i), sum);
        sum = team<1>::sum(sum);
        if (team<1>::rank() == 0)
            inv[r] = 1.f / sqrtf(sum / (float)x.cols + eps);
    }
}

struct norm_term {
    struct rows x, y;
    const float *inv;
    BR_INLINE float operator()(uint32_t r, uint32_t i) const
    {
        return x.read(x.at(r) + i) * inv[r] * y.read(y.at(r) + i);
    }
};

struct norm_scratch {
    float *inv, *parts;
    size_t bytes;
};

static struct norm_scratch norm_carve(const struct br_call *c, void *scratch)
{
    struct rows x = rows_of(&c->in[0]);
    struct carve s = {(char *)scratch, 0};
    struct norm_scratch n;
    n.inv = carve_out<float>(&s, x.count);
    n.parts = carve_out<float>(&s, (int64_t)parts_floats(x.count, x.cols));
    n.bytes = s.used;
    return n;
}

SCRATCH_FUNCTION(rmsnorm_dw)
{
    return norm_carve(c, nullptr).bytes;
}

ROW_FUNCTION(rmsnorm_dw)
{
    struct rows x = rows_of(&c->in[0]), y = rows_of(&c->in[1]);
    struct norm_scratch s = norm_carve(c, c->scratch);
    BR_LAUNCH(c, inverse_rms, team_blocks(x.count, 1), TEAM_THREADS, 0, s.inv, x,
              (float)c->attr.f[0]);
    sum_columns(c, s.parts, x.count, x.cols, norm_term{x, y, s.inv});
}
