/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* matmul.cu - matrix products: which of them cuBLASLt computes, and kernels for the others.
 *
 * cuBLASLt takes products of many rows whose sizes and addresses suit it.  Up to BR_FEW_ROWS rows,
 * and where k runs along both operands, a warp has a column of the result and reads its weights
 * once. Everything else is cut into tiles of 64 x 64: experts, whose rows only the device knows;
 * odd sizes; exact products of float32 by stored 16-bit weights. */
#include "product.cuh"

/* ---- tiles ----------------------------------------------------------------------------------- */

#define STEP 16
#define PER 4 /* rows and columns of a thread */

/* Rows i0 .. of x into shared memory, x[k][i], k0 .. k0 + STEP; zeros beyond its m rows or k. */
BR_INLINE void load_tile(float (*to)[TILE + 1], const mat &x, int64_t i0, int64_t m, int64_t k0,
                         int64_t k)
{
    for (int e = (int)threadIdx.x; e < TILE * STEP; e += 256) {
        /* neighbouring threads read neighbouring elements */
        const int i = x.k_major ? e % TILE : e / STEP, j = x.k_major ? e / TILE : e % STEP;
        const bool there = i0 + i < m && k0 + j < k;
        to[j][i] = there ? element(x, i0 + i, k0 + j) : 0.f;
    }
}

/* Tile (i0, j0) of a product that is not of experts. */
BR_INLINE void tile_product(const product &p, int64_t i0, int64_t j0)
{
    BR_SHARED(float, a_room, STEP *(TILE + 1));
    BR_SHARED(float, b_room, STEP *(TILE + 1));
    float(*a)[TILE + 1] = (float(*)[TILE + 1]) a_room;
    float(*b)[TILE + 1] = (float(*)[TILE + 1]) b_room;
    const int row = (int)threadIdx.x / 16 * PER, col = (int)threadIdx.x % 16 * PER;
    const bool works = i0 + row < p.m && j0 + col < p.n;
    float sum[PER][PER];
    for (int i = 0; i < PER; i++)
        for (int j = 0; j < PER; j++)
            sum[i][j] = 0;
    for (int64_t k0 = 0; k0 < p.k; k0 += STEP) {
        load_tile(a, p.a, i0, p.m, k0, p.k);
        load_tile(b, p.b, j0, p.n, k0, p.k);
        gpu_sync();
        const int n = (int)min_of(STEP, p.k - k0);
        for (int k = 0; works && k < n; k++)
            for (int i = 0; i < PER; i++)
                for (int j = 0; j < PER; j++)
                    sum[i][j] = fmaf(a[k][row + i], b[k][col + j], sum[i][j]);
        gpu_sync();
    }
    for (int i = 0; i < PER; i++)
        for (int j = 0; j < PER; j++)
            if (i0 + row + i < p.m && j0 + col + j < p.n)
                store(p, i0 + row + i, j0 + col + j, sum[i][j]);
}

BR_KERNEL(256, 2) multiply_tiles(product p)
{
    tile_product(p, (int64_t)blockIdx.y * TILE, (int64_t)blockIdx.x * TILE);
}

/* ---- experts --------------------------------------------------------------------------------- */

BR_KERNEL(256, 2) multiply_experts(product p)
{
    int64_t tile = blockIdx.y, e;
    if (p.by_k) {
        const int64_t tiles = div_up(p.m, TILE);
        e = tile / tiles;
        tile = tile % tiles;
    } else {
        e = expert_of_tile(p, blockIdx.y, &tile);
        if (e < 0) /* the whole block */
            return;
    }
    tile_product(of_expert(p, e), tile * TILE, (int64_t)blockIdx.x * TILE);
}

/* Rows that belong to no expert. */
BR_KERNEL(256, 1) zero_rest(product p)
{
    const int64_t first = offset_at(p, p.n_experts, p.m);
    FOR_EACH_ROW(r, (uint32_t)p.m)
    {
        FOR_EACH_UNIT(i, (uint32_t)p.n)
        {
            if (r >= first)
                write_f32(p.out, p.out_dtype, (int64_t)r * p.ldo + i, 0.f);
        }
    }
}

static void multiply_grouped(const struct br_call *c, const product *p)
{
    const unsigned x = (unsigned)div_up(p->n, TILE);
    const int64_t y = p->by_k ? p->n_experts * div_up(p->m, TILE) : tiles_of_experts(p);
    if (y > MAX_GRID_Y) {
        br__cuda_refuse(c, "%lld tiles of rows; at most %d are possible", (long long)y, MAX_GRID_Y);
        return;
    }
    struct cover k = cover_rows(p->m, p->n);
    if (!p->by_k)
        BR_LAUNCH(c, zero_rest, k.grid, k.block, 0, *p);
    if (!br__cuda_multiply_experts(c, p))
        BR_LAUNCH(c, multiply_experts, dim3(x, (unsigned)y), 256, 0, *p);
}

/* ---- few rows -------------------------------------------------------------------------------- */

/* A warp has a column. */
BR_KERNEL(32 * FEW_WARPS, 2) multiply_few(product p, bool is_wide)
{
    const int lane = (int)threadIdx.x % 32;
    const int64_t step = (int64_t)gridDim.x * FEW_WARPS;
    for (int64_t j = (int64_t)blockIdx.x * FEW_WARPS + threadIdx.x / 32; j < p.n; j += step) {
        float sum[BR_FEW_ROWS];
        column_sums<BR_FEW_ROWS>(sum, p, j, is_wide, in_order{});
        for (int i = 0; i < BR_FEW_ROWS; i++) {
            const float all = warp_sum(sum[i]);
            if (lane == 0 && i < p.m)
                store(p, i, j, all);
        }
    }
}

static bool suits_few(const product *p)
{
    return p->m <= BR_FEW_ROWS && !p->a.k_major && !p->b.k_major && !p->offsets;
}

/* ---- choosing -------------------------------------------------------------------------------- */

BR_KERNEL(256, 1) round_mat(bf16 *o, mat x, int64_t lines, int64_t n)
{
    FOR_EACH_ROW(r, (uint32_t)lines)
    {
        FOR_EACH_UNIT(i, (uint32_t)n)
        {
            o[(int64_t)r * n + i] = bf16_of(read_as_f32(x.data, x.dtype, (int64_t)r * x.ld + i));
        }
    }
}

/* Whether a and b shall be bfloat16 for cuBLASLt, and one of them is not yet. */
static bool wants_rounding(const product *p, const mat *x)
{
    return p->may_round && !p->offsets && !suits_few(p) && x->dtype != BR_BF16;
}

static int64_t mat_elements(const product *p, const mat *x)
{
    return (x == &p->a ? p->m : p->n) * p->k;
}

extern "C" size_t br__cuda_multiply_scratch(const struct br__cuda_product *p)
{
    struct carve s = {nullptr, 0};
    if (wants_rounding(p, &p->a))
        carve_out<bf16>(&s, mat_elements(p, &p->a));
    if (wants_rounding(p, &p->b))
        carve_out<bf16>(&s, mat_elements(p, &p->b));
    return s.used;
}

static void round_operand(const struct br_call *c, const product *p, const mat *x, int64_t rows,
                          mat *to, struct carve *s)
{
    if (!wants_rounding(p, x))
        return;
    const int64_t lines = x->k_major ? p->k : rows, n = x->k_major ? rows : p->k;
    bf16 *o = carve_out<bf16>(s, rows * p->k);
    struct cover k = cover_rows(lines, n);
    BR_LAUNCH(c, round_mat, k.grid, k.block, 0, o, *x, lines, n);
    *to = mat{o, BR_BF16, x->k_major, n};
}

extern "C" void br__cuda_multiply(const struct br_call *c, const struct br__cuda_product *p,
                                  void *scratch)
{
    if (p->offsets) {
        multiply_grouped(c, p);
        return;
    }
    if (suits_few(p)) {
        const bool is_wide = is_wide_product(p);
        BR_LAUNCH(c, multiply_few, (unsigned)min_of(div_up(p->n, FEW_WARPS), MAX_GRID_X),
                  32 * FEW_WARPS, 0, *p, is_wide);
        return;
    }
    product q = *p;
    struct carve s = {(char *)scratch, 0};
    round_operand(c, p, &p->a, p->m, &q.a, &s);
    round_operand(c, p, &p->b, p->n, &q.b, &s);
    if (br__cuda_gemm(c, &q))
        return;
    const int64_t y = div_up(q.m, TILE);
    if (y > MAX_GRID_Y)
        br__cuda_refuse(c, "%lld rows; at most %d are possible", (long long)q.m, MAX_GRID_Y * TILE);
    else
        BR_LAUNCH(c, multiply_tiles, dim3((unsigned)div_up(q.n, TILE), (unsigned)y), 256, 0, q);
}

/* ---- ops ------------------------------------------------------------------------------------- */

static mat mat_of(const struct br_tensor *t, int k_major)
{
    return mat{t->data, t->dtype, k_major, t->stride[t->n_dim - 2]};
}

static product product_of(const struct br_call *c)
{
    const struct br_tensor *x = &c->in[0], *w = &c->in[1], *out = c->out;
    const bool adds = c->op == BR_OP_MATMUL_TN_ADD || c->op == BR_OP_GROUPED_MATMUL_TN_ADD;
    const bool tn = adds || c->op == BR_OP_MATMUL_TN || c->op == BR_OP_GROUPED_MATMUL_TN;
    const bool nn = c->op == BR_OP_MATMUL_NN || c->op == BR_OP_GROUPED_MATMUL_NN;
    const bool grouped = c->op == BR_OP_GROUPED_MATMUL || c->op == BR_OP_GROUPED_MATMUL_NN ||
                         c->op == BR_OP_GROUPED_MATMUL_TN || c->op == BR_OP_GROUPED_MATMUL_TN_ADD;
    product p = {};
    p.a = mat_of(x, tn);
    p.b = mat_of(w, tn || nn);
    p.out = out->data;
    p.out_dtype = out->dtype;
    p.ldo = out->stride[out->n_dim - 2];
    p.add = adds;
    p.may_round = c->attr.i[0] == BR_BF16;
    p.by_k = tn && grouped;
    p.m = tn ? x->shape[1] : x->shape[0];
    p.n = out->shape[out->n_dim - 1];
    p.k = tn ? x->shape[0] : x->shape[1];
    if (grouped) {
        p.offsets = (const int32_t *)c->in[2].data;
        p.n_experts = c->in[2].shape[0] - 1;
        p.b_stride = tn ? 0 : w->stride[0];
        p.out_stride = tn ? out->stride[0] : 0;
    }
    return p;
}

SCRATCH_FUNCTION(matmul)
{
    product p = product_of(c);
    return br__cuda_multiply_scratch(&p);
}

ROW_FUNCTION(matmul)
{
    product p = product_of(c);
    br__cuda_multiply(c, &p, c->scratch);
}
