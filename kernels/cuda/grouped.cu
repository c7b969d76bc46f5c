/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* grouped.cu - the products of experts by tensor cores: GROUPED_MATMUL and GROUPED_MATMUL_NN, of
 * bfloat16 weights, and GROUPED_MATMUL_TN, which makes the gradients of these.
 *
 * A block computes TILE rows of one expert by COLS columns, STEP of k at a time; two steps are in
 * shared memory, of which one is loaded while the other is multiplied.  Each of four warps has 32
 * rows by 64 columns.  Operands that are float32 are rounded on the way.  Fragments and the order
 * of pieces in shared memory are those of attention.cu. */
#include "product.cuh"

#define COLS 128
#define STEP 64 /* of k */
#define THREADS 128
#define A_SIZE (TILE * STEP)
#define B_SIZE (COLS * STEP)

/* 16 bytes: piece p of row r of a tile whose rows are `width` elements. */
template <int width> BR_INLINE bf16 *piece(bf16 *tile, int row, int p)
{
    return tile + row * width + ((p ^ (row & 7)) << 3);
}

/* x(i0 .., k0 ..), N of i by STEP of k, zeros beyond m and k: [N, STEP] where k runs along its
 * rows, else [STEP, N]. */
template <bool K_MAJOR, int N>
BR_INLINE void load_tile(bf16 *to, const mat &x, int64_t i0, int64_t m, int64_t k0, int64_t k)
{
    constexpr int width = K_MAJOR ? N : STEP;
    for (int e = (int)threadIdx.x; e < N * STEP / 8; e += THREADS) {
        const int row = e / (width / 8), at = e % (width / 8);
        const int64_t line = (K_MAJOR ? k0 : i0) + row, along = (K_MAJOR ? i0 : k0) + at * 8;
        const bool there = line < (K_MAJOR ? k : m) && along < (K_MAJOR ? m : k);
        const int64_t from = there ? line * x.ld + along : 0;
        bf16 *place = piece<width>(to, row, at);
        if (x.dtype == BR_BF16) {
            gpu_copy16_async(place, (const bf16 *)x.data + from, there);
            continue;
        }
        float v[8] = {0, 0, 0, 0, 0, 0, 0, 0};
        vec<uint16_t, 8> half;
        if (there)
            read_many<8>(v, x.data, x.dtype, from);
        for (int j = 0; j < 8; j++)
            half.v[j] = bf16_of(v[j]).bits;
        *(vec<uint16_t, 8> *)place = half;
    }
}

/* sum[32 x 64 of the warp] += a b' of one step */
template <bool A_K_MAJOR, bool B_K_MAJOR>
BR_INLINE void multiply_step(float (*sum)[8][4], bf16 *a, bf16 *b)
{
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const int row = warp / 2 * 32, col = warp % 2 * 64, m = lane / 8, l = lane % 8;
    BR_UNROLL
    for (int k = 0; k < STEP / 16; k++) {
        uint32_t fa[2][4];
        BR_UNROLL
        for (int i = 0; i < 2; i++) {
            const int at = row + i * 16;
            if (A_K_MAJOR)
                gpu_ldmatrix_x4_trans(fa[i],
                                      piece<TILE>(a, k * 16 + m / 2 * 8 + l, at / 8 + m % 2));
            else
                gpu_ldmatrix_x4(fa[i], piece<STEP>(a, at + m % 2 * 8 + l, k * 2 + m / 2));
        }
        BR_UNROLL
        for (int j = 0; j < 8; j += 2) {
            uint32_t fb[4]; /* of two neighbouring 8 columns */
            if (B_K_MAJOR)
                gpu_ldmatrix_x4_trans(fb,
                                      piece<COLS>(b, k * 16 + m % 2 * 8 + l, col / 8 + j + m / 2));
            else
                gpu_ldmatrix_x4(fb, piece<STEP>(b, col + j * 8 + m / 2 * 8 + l, k * 2 + m % 2));
            BR_UNROLL
            for (int i = 0; i < 2; i++) {
                gpu_mma_bf16(sum[i][j], fa[i], fb);
                gpu_mma_bf16(sum[i][j + 1], fa[i], fb + 2);
            }
        }
    }
}

/* Lane l has columns 2 (l % 4) + {0, 1} of rows l / 4 and l / 4 + 8 of each 16 x 8. */
BR_INLINE void store_tile(const product &p, float (*sum)[8][4], int64_t i0, int64_t j0)
{
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const int64_t row = i0 + warp / 2 * 32 + lane / 4, col = j0 + warp % 2 * 64 + lane % 4 * 2;
    BR_UNROLL
    for (int i = 0; i < 2; i++) {
        BR_UNROLL
        for (int j = 0; j < 8; j++) {
            BR_UNROLL
            for (int e = 0; e < 4; e++) {
                const int64_t r = row + i * 16 + e / 2 * 8, c = col + j * 8 + e % 2;
                if (r < p.m && c < p.n)
                    store(p, r, c, sum[i][j][e]);
            }
        }
    }
}

/* What a block computes: tile number `block` of all experts' tiles of rows. */
BR_INLINE int64_t expert_of_block(const product &p, int64_t block, int64_t *tile)
{
    if (!p.by_k)
        return expert_of_tile(p, block, tile);
    const int64_t tiles = div_up(p.m, TILE);
    *tile = block % tiles;
    return block / tiles;
}

/* Grid: columns by tiles of rows of all experts.  Shared: two steps of a and b. */
template <bool A_K_MAJOR, bool B_K_MAJOR> BR_KERNEL(THREADS, 2) multiply_expert_tiles(product all)
{
    BR_DYN_SHARED(bf16, shared);
    int64_t tile;
    const int64_t e = expert_of_block(all, blockIdx.y, &tile);
    if (e < 0) /* the whole block leaves */
        return;
    const product p = of_expert(all, e);
    const int64_t i0 = tile * TILE, j0 = (int64_t)blockIdx.x * COLS;
    const int n_steps = (int)div_up(p.k, STEP); /* of an expert without rows: none */
    float sum[2][8][4];
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 8; j++)
            for (int u = 0; u < 4; u++)
                sum[i][j][u] = 0;
    load_tile<A_K_MAJOR, TILE>(shared, p.a, i0, p.m, 0, p.k);
    load_tile<B_K_MAJOR, COLS>(shared + A_SIZE, p.b, j0, p.n, 0, p.k);
    gpu_copy_commit();
    for (int s = 0; s < n_steps; s++) {
        bf16 *a = shared + s % 2 * (A_SIZE + B_SIZE);
        bf16 *next = shared + (s + 1) % 2 * (A_SIZE + B_SIZE);
        const int64_t k = (int64_t)(s + 1) * STEP;
        if (s + 1 < n_steps) {
            load_tile<A_K_MAJOR, TILE>(next, p.a, i0, p.m, k, p.k);
            load_tile<B_K_MAJOR, COLS>(next + A_SIZE, p.b, j0, p.n, k, p.k);
        }
        gpu_copy_commit();
        gpu_copy_wait<1>();
        gpu_sync();
        multiply_step<A_K_MAJOR, B_K_MAJOR>(sum, a, a + A_SIZE);
        gpu_sync();
    }
    gpu_copy_wait<0>();
    store_tile(p, sum, i0, j0);
}

/* Rows and columns in pieces of 16 bytes, of every expert. */
static bool is_in_pieces(const mat *x)
{
    return x->ld % 8 == 0 && (uintptr_t)x->data % (8 * dtype_bytes(x->dtype)) == 0;
}

/* What can be read as bfloat16. */
static bool can_be_half(const product *p, const mat *x)
{
    return x->dtype == BR_BF16 || p->may_round;
}

bool br__cuda_multiply_experts(const struct br_call *c, const product *p)
{
    const int64_t rows = p->by_k ? p->n_experts * div_up(p->m, TILE) : tiles_of_experts(p);
    if ((p->by_k ? p->m : p->k) % 8 || p->n % 8 || p->b_stride % 8 || !is_in_pieces(&p->a) ||
        !is_in_pieces(&p->b))
        return false;
    if (!can_be_half(p, &p->a) || (p->by_k ? !can_be_half(p, &p->b) : p->b.dtype != BR_BF16))
        return false;
    const dim3 grid((unsigned)div_up(p->n, COLS), (unsigned)rows);
    const size_t shared = 2 * (A_SIZE + B_SIZE) * sizeof(bf16);
    if (p->by_k)
        BR_LAUNCH(c, (multiply_expert_tiles<true, true>), grid, THREADS, shared, *p);
    else if (p->b.k_major)
        BR_LAUNCH(c, (multiply_expert_tiles<false, true>), grid, THREADS, shared, *p);
    else
        BR_LAUNCH(c, (multiply_expert_tiles<false, false>), grid, THREADS, shared, *p);
    return true;
}
