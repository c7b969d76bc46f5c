/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* product.cuh - what the kernels of matrix products share: elements, and the products of experts,
 * whose rows only the device knows. */
#ifndef BR__CUDA_PRODUCT_CUH
#define BR__CUDA_PRODUCT_CUH

#include "host.cuh"
#include "product.h"

#define TILE 64 /* rows of the result that a block computes */

typedef struct br__cuda_mat mat;
typedef struct br__cuda_product product;

BR_INLINE float element(const mat &x, int64_t i, int64_t k)
{
    return read_as_f32(x.data, x.dtype, x.k_major ? k * x.ld + i : i * x.ld + k);
}

BR_BOTH const void *shifted_by(const void *p, uint32_t dtype, int64_t elements)
{
    return (const char *)p + elements * (dtype == BR_F32 ? 4 : 2);
}

/* The result at (i, j). */
BR_INLINE void store(const product &p, int64_t i, int64_t j, float v)
{
    const int64_t at = i * p.ldo + j;
    if (p.add)
        v += ((const float *)p.out)[at];
    write_f32(p.out, p.out_dtype, at, v);
}

/* offsets as far as they can be trusted: rows of an expert lie in 0 .. rows. */
BR_INLINE int64_t offset_at(const product &p, int64_t e, int64_t rows)
{
    return min_of(max_of(p.offsets[e], 0), rows);
}

/* The product of expert e alone. */
BR_INLINE product of_expert(product p, int64_t e)
{
    const int64_t rows = p.by_k ? p.k : p.m;
    const int64_t from = offset_at(p, e, rows), n = max_of(offset_at(p, e + 1, rows) - from, 0);
    p.a.data = shifted_by(p.a.data, p.a.dtype, from * p.a.ld);
    if (p.by_k) {
        p.b.data = shifted_by(p.b.data, p.b.dtype, from * p.b.ld);
        p.out = (float *)p.out + e * p.out_stride;
        p.k = n;
    } else {
        p.b.data = shifted_by(p.b.data, p.b.dtype, e * p.b_stride);
        p.out = (void *)shifted_by(p.out, p.out_dtype, from * p.ldo);
        p.m = n;
    }
    return p;
}

struct tiles_of_expert {
    const product &p;

    BR_INLINE int64_t operator()(int64_t e) const
    {
        return div_up(max_of(offset_at(p, e + 1, p.m) - offset_at(p, e, p.m), 0), TILE);
    }
};

/* The expert whose tiles of rows hold tile number `tile` of all, and which of its own it is; a warp
 * looks.  -1: there are fewer. */
BR_INLINE int64_t expert_of_tile(const product &p, int64_t tile, int64_t *own)
{
    return warp_find(p.n_experts, tile, tiles_of_expert{p}, own);
}

/* Tiles of rows that all experts together can have: each may begin one of its own. */
static inline int64_t tiles_of_experts(const product *p)
{
    return min_of(div_up(p->m, TILE) + p->n_experts, p->m);
}

/* ---- few rows -------------------------------------------------------------------------------- */

#define FEW_WARPS 8 /* of a block */

/* Row i of a product's a is row i of the matrix. */
struct in_order {
    BR_INLINE int64_t operator()(int i) const
    {
        return i;
    }
};

/* Lanes take 8 neighbouring k each, 256 apart.  BF16: a and b are, so that nothing has to be asked
 * between loads, of which several are then under way. */
template <int ROWS, bool BF16, class Row>
BR_INLINE void wide_sums(float *sum, const product &p, int64_t j, const Row &row)
{
    const uint32_t a_dtype = BF16 ? (uint32_t)BR_BF16 : p.a.dtype;
    const uint32_t b_dtype = BF16 ? (uint32_t)BR_BF16 : p.b.dtype;
    BR_UNROLL_BY((ROWS == 1 ? 4 : 1))
    for (int64_t k = threadIdx.x % 32 * 8; k < p.k; k += 256) {
        float w[8];
        read_many<8>(w, p.b.data, b_dtype, j * p.b.ld + k);
        for (int i = 0; i < ROWS; i++) {
            float x[8];
            if (ROWS > 1 && i >= p.m)
                continue;
            read_many<8>(x, p.a.data, a_dtype, row(i) * p.a.ld + k);
            for (int u = 0; u < 8; u++)
                sum[i] = fmaf(x[u], w[u], sum[i]);
        }
    }
}

/* Sums of up to ROWS rows row(i) of a times row j of b, a share of k in each lane of a warp;
 * is_wide: rows may be read 8 elements at a time. */
template <int ROWS, class Row>
BR_INLINE void column_sums(float *sum, const product &p, int64_t j, bool is_wide, const Row &row)
{
    for (int i = 0; i < ROWS; i++)
        sum[i] = 0;
    if (is_wide && p.a.dtype == BR_BF16 && p.b.dtype == BR_BF16)
        wide_sums<ROWS, true>(sum, p, j, row);
    else if (is_wide)
        wide_sums<ROWS, false>(sum, p, j, row);
    for (int64_t k = threadIdx.x % 32; !is_wide && k < p.k; k += 32) {
        const float w = element(p.b, j, k);
        for (int i = 0; i < ROWS; i++)
            if (i < p.m)
                sum[i] = fmaf(element(p.a, row(i), k), w, sum[i]);
    }
}

static inline bool is_wide_mat(const mat *x)
{
    return x->ld % 8 == 0 && (uintptr_t)x->data % (8 * dtype_bytes(x->dtype)) == 0;
}
static inline bool is_wide_product(const product *p)
{
    return p->k % 8 == 0 && is_wide_mat(&p->a) && is_wide_mat(&p->b);
}

/* grouped.cu: the products of experts by tensor cores, but for rows of no expert; false: they do
 * not suit it. */
bool br__cuda_multiply_experts(const struct br_call *c, const product *p);

#endif
