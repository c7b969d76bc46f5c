/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* grouped.cu - the products of experts by tensor cores, of bfloat16 weights: GROUPED_MATMUL and
 * GROUPED_MATMUL_NN.
 *
 * A block computes TILE rows of one expert by COLS columns, STEP of k at a time; two steps are in
 * shared memory, of which one is loaded while the other is multiplied.  Each of four warps has 32
 * rows by 64 columns.  Rows of x that are float32 are rounded on the way.  Fragments and the order
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

/* Rows i0 .. of a, elements k0 .. k0 + STEP: [TILE, STEP]; zeros beyond. */
BR_INLINE void load_a(bf16 *to, const product &p, int64_t i0, int64_t k0)
{
    for (int e = (int)threadIdx.x; e < A_SIZE / 8; e += THREADS) {
        const int row = e / (STEP / 8), at = e % (STEP / 8);
        const int64_t i = i0 + row, k = k0 + at * 8;
        const bool there = i < p.m && k < p.k;
        const int64_t from = there ? i * p.a.ld + k : 0;
        bf16 *place = piece<STEP>(to, row, at);
        if (p.a.dtype == BR_BF16) {
            gpu_copy16_async(place, (const bf16 *)p.a.data + from, there);
            continue;
        }
        float v[8] = {0, 0, 0, 0, 0, 0, 0, 0};
        vec<uint16_t, 8> half;
        if (there)
            read_many<8>(v, p.a.data, p.a.dtype, from);
        for (int j = 0; j < 8; j++)
            half.v[j] = bf16_of(v[j]).bits;
        *(vec<uint16_t, 8> *)place = half;
    }
}

/* b(j0 .., k0 ..): [COLS, STEP] where k runs along its rows, else [STEP, COLS]. */
template <bool K_MAJOR> BR_INLINE void load_b(bf16 *to, const product &p, int64_t j0, int64_t k0)
{
    constexpr int width = K_MAJOR ? COLS : STEP;
    for (int e = (int)threadIdx.x; e < B_SIZE / 8; e += THREADS) {
        const int row = e / (width / 8), at = e % (width / 8);
        const int64_t line = (K_MAJOR ? k0 : j0) + row, along = (K_MAJOR ? j0 : k0) + at * 8;
        const bool there = line < (K_MAJOR ? p.k : p.n) && along < (K_MAJOR ? p.n : p.k);
        const int64_t from = there ? line * p.b.ld + along : 0;
        gpu_copy16_async(piece<width>(to, row, at), (const bf16 *)p.b.data + from, there);
    }
}

/* sum[32 x 64 of the warp] += a b' of one step */
template <bool K_MAJOR> BR_INLINE void multiply_step(float (*sum)[8][4], bf16 *a, bf16 *b)
{
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const int row = warp / 2 * 32, col = warp % 2 * 64, m = lane / 8, l = lane % 8;
    BR_UNROLL
    for (int k = 0; k < STEP / 16; k++) {
        uint32_t fa[2][4];
        BR_UNROLL
        for (int i = 0; i < 2; i++)
            gpu_ldmatrix_x4(fa[i], piece<STEP>(a, row + i * 16 + m % 2 * 8 + l, k * 2 + m / 2));
        BR_UNROLL
        for (int j = 0; j < 8; j += 2) {
            uint32_t fb[4]; /* of two neighbouring 8 columns */
            if (K_MAJOR)
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

/* Grid: columns by tiles of rows of all experts.  Shared: two steps of a and b. */
template <bool K_MAJOR> BR_KERNEL(THREADS, 2) multiply_expert_tiles(product all)
{
    BR_DYN_SHARED(bf16, shared);
    int64_t tile;
    const int64_t e = expert_of_tile(all, blockIdx.y, &tile);
    if (e < 0) /* the whole block leaves */
        return;
    const product p = of_expert(all, e);
    const int64_t i0 = tile * TILE, j0 = (int64_t)blockIdx.x * COLS;
    const int n_steps = (int)div_up(p.k, STEP);
    float sum[2][8][4];
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 8; j++)
            for (int u = 0; u < 4; u++)
                sum[i][j][u] = 0;
    load_a(shared, p, i0, 0);
    load_b<K_MAJOR>(shared + A_SIZE, p, j0, 0);
    gpu_copy_commit();
    for (int s = 0; s < n_steps; s++) {
        bf16 *a = shared + s % 2 * (A_SIZE + B_SIZE);
        bf16 *next = shared + (s + 1) % 2 * (A_SIZE + B_SIZE);
        if (s + 1 < n_steps) {
            load_a(next, p, i0, (int64_t)(s + 1) * STEP);
            load_b<K_MAJOR>(next + A_SIZE, p, j0, (int64_t)(s + 1) * STEP);
        }
        gpu_copy_commit();
        gpu_copy_wait<1>();
        gpu_sync();
        multiply_step<K_MAJOR>(sum, a, a + A_SIZE);
        gpu_sync();
    }
    store_tile(p, sum, i0, j0);
}

/* Rows and columns in pieces of 16 bytes, of every expert. */
static bool is_in_pieces(const mat *x)
{
    return x->ld % 8 == 0 && (uintptr_t)x->data % (8 * dtype_bytes(x->dtype)) == 0;
}

bool br__cuda_multiply_experts(const struct br_call *c, const product *p)
{
    if (p->by_k || p->a.k_major || p->b.dtype != BR_BF16 || p->k % 8 || p->n % 8 ||
        p->b_stride % 8 || !is_in_pieces(&p->a) || !is_in_pieces(&p->b))
        return false;
    if (p->a.dtype != BR_BF16 && !p->may_round)
        return false;
    const dim3 grid((unsigned)div_up(p->n, COLS), (unsigned)tiles_of_experts(p));
    const size_t shared = 2 * (A_SIZE + B_SIZE) * sizeof(bf16);
    if (p->b.k_major)
        BR_LAUNCH(c, multiply_expert_tiles<true>, grid, THREADS, shared, *p);
    else
        BR_LAUNCH(c, multiply_expert_tiles<false>, grid, THREADS, shared, *p);
    return true;
}
