/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* few.cuh - few rows that every block of a product puts through RMSNORM for itself. */
#ifndef BR__CUDA_FEW_H
#define BR__CUDA_FEW_H

#include "norm.cuh"
#include "product.cuh"

struct few_normed {
    struct rows x, w;
    float base, eps;
};

static inline struct few_normed few_normed_of(const struct br_call *c, const struct br_tensor *w)
{
    const float base = c->attr.i[1] & BR_LINEAR_PLUS_ONE ? 1.f : 0.f;
    return few_normed{rows_of(&c->in[0]), rows_of(w), base, (float)c->attr.f[0]};
}
/* Of shared memory. */
static inline size_t few_normed_bytes(const struct few_normed *a)
{
    return (size_t)a->x.count * a->x.cols * dtype_bytes(a->x.dtype);
}

#define PREFETCH 4096 /* bytes of a row of weights; each thread asks for a line of 128 */

/* The beginnings of rows of weights, one for each warp from `from` on and before `end`; the whole
 * block asks. */
BR_INLINE void prefetch_rows(const product &p, int64_t from, int64_t end)
{
    const int64_t bytes = p.k * (p.b.dtype == BR_F32 ? 4 : 2), most = min_of(bytes, PREFETCH);
    const char *row = (const char *)shifted_by(p.b.data, p.b.dtype, from * p.b.ld);
    const int64_t ld = p.b.ld * (p.b.dtype == BR_F32 ? 4 : 2);
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    if (from + warp < end && lane * 128 < most)
        gpu_prefetch(row + warp * ld + lane * 128);
}

/* Row r, as x is kept. */
template <int W> BR_INLINE void norm_row(const struct few_normed &a, void *to, uint32_t r)
{
    const int64_t at = a.x.at(r);
    const float inv = inv_rms<W>(a.x, at, a.eps);
    FOR_EACH_COLUMN(i, a.x.cols)
    write_f32(to, a.x.dtype, (int64_t)r * a.x.cols + i,
              a.x.read(at + i) * inv * (a.base + a.w.read(i)));
}

/* All rows into shared memory, by the whole block; as many threads have a row as RMSNORM takes. */
BR_INLINE mat norm_rows(const struct few_normed &a, void *shared)
{
    const uint32_t warp = threadIdx.x / 32;
    if (a.x.cols > 1024)
        for (uint32_t r = 0; r < a.x.count; r++)
            norm_row<FEW_WARPS>(a, shared, r);
    else if (warp < a.x.count)
        norm_row<1>(a, shared, warp);
    gpu_sync();
    return mat{shared, a.x.dtype, 0, (int64_t)a.x.cols};
}

#endif
