/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* linear.cu - LINEAR: a product of few rows, with the norm before it and what follows it.
 *
 * A warp has a column of the result, or the two that SWIGLU makes one of, and reads its weights
 * once.  Every block norms all rows for itself, into shared memory: they are few, and the weights
 * are what takes time. */
#include "few.cuh"

struct linear {
    product p;
    struct few_normed x;
    const void *more; /* bias or residual */
    uint32_t more_dtype;
    int64_t more_stride; /* of the residual's rows; 0: a bias */
    int flags;
};

/* What is written at (i, j), of the product's sum there and, as gate and up, the other one's. */
BR_INLINE float finish(const struct linear &a, int64_t i, int64_t j, float sum, float other)
{
    const uint32_t dtype = a.p.out_dtype;
    const float y = as_kept(sum, dtype);
    if (a.flags & BR_LINEAR_GLU)
        return (y * sigmoid_of(y)) * as_kept(other, dtype);
    return a.more ? y + read_as_f32(a.more, a.more_dtype, i * a.more_stride + j) : y;
}

template <int ROWS> BR_KERNEL(32 * FEW_WARPS, 2) linear_rows(struct linear a, bool is_wide)
{
    BR_DYN_SHARED(unsigned char, shared);
    product p = a.p;
    const int64_t step = (int64_t)gridDim.x * FEW_WARPS;
    const bool has_norm = a.flags & BR_LINEAR_NORM, has_gate = a.flags & BR_LINEAR_GLU;
    gpu_launch_next();
    prefetch_rows(p, (int64_t)blockIdx.x * FEW_WARPS, p.n);
    if (has_gate)
        prefetch_rows(p, p.n + (int64_t)blockIdx.x * FEW_WARPS, 2 * p.n);
    gpu_wait_previous();
    if (has_norm)
        p.a = norm_rows(a.x, shared);
    for (int64_t j = (int64_t)blockIdx.x * FEW_WARPS + threadIdx.x / 32; j < p.n; j += step) {
        float sum[ROWS], other[ROWS];
        column_sums<ROWS>(sum, p, j, is_wide, in_order{});
        if (has_gate)
            column_sums<ROWS>(other, p, p.n + j, is_wide, in_order{});
        for (int i = 0; i < ROWS; i++) {
            const float all = warp_sum(sum[i]), up = has_gate ? warp_sum(other[i]) : 0.f;
            if (threadIdx.x % 32 == 0 && i < p.m)
                write_f32(p.out, p.out_dtype, i * p.ldo + j, finish(a, i, j, all, up));
        }
    }
}

ROW_FUNCTION(linear)
{
    const struct br_tensor *x = &c->in[0], *w = &c->in[1], *last = &c->in[c->n_in - 1];
    struct linear a = {};
    a.flags = (int)c->attr.i[1];
    a.p.a = mat{x->data, x->dtype, 0, x->stride[0]};
    a.p.b = mat{w->data, w->dtype, 0, w->stride[0]};
    a.p.out = c->out->data;
    a.p.out_dtype = c->out->dtype;
    a.p.ldo = c->out->stride[0];
    a.p.m = x->shape[0];
    a.p.n = c->out->shape[1];
    a.p.k = x->shape[1];
    if (a.flags & BR_LINEAR_NORM)
        a.x = few_normed_of(c, &c->in[2]);
    if (a.flags & (BR_LINEAR_BIAS | BR_LINEAR_ADD)) {
        a.more = last->data;
        a.more_dtype = last->dtype;
        a.more_stride = a.flags & BR_LINEAR_ADD ? last->stride[0] : 0;
    }
    const size_t shared = a.flags & BR_LINEAR_NORM ? few_normed_bytes(&a.x) : 0;
    const unsigned blocks = (unsigned)min_of(div_up(a.p.n, FEW_WARPS), MAX_GRID_X);
    const bool is_wide = is_wide_product(&a.p);
    if (a.p.m == 1)
        BR_LAUNCH_EARLY(c, linear_rows<1>, blocks, 32 * FEW_WARPS, shared, a, is_wide);
    else
        BR_LAUNCH_EARLY(c, linear_rows<BR_FEW_ROWS>, blocks, 32 * FEW_WARPS, shared, a, is_wide);
}
