/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tile.cuh - tiles of bfloat16 in shared memory, and the products that a warp makes of them.
 *
 * Fragments are those of mma.m16n8k16: of a 16 x 8 result lane l has columns 2 (l % 4) + {0, 1} of
 * rows l / 4 and l / 4 + 8.  Rows of a tile are pieces of 16 bytes, which are permuted so that the
 * eight rows of one ldmatrix meet eight different banks. */
#ifndef BR__CUDA_TILE_H
#define BR__CUDA_TILE_H

#include "gpu.cuh"

/* Piece p of a row of D numbers. */
template <int D> BR_INLINE bf16 *piece(bf16 *tile, int row, int p)
{
    const int by = D >= 64 ? row & 7 : row >> 1 & 3;
    return tile + row * D + ((p ^ by) << 3);
}

template <int N> BR_INLINE void clear(float (*x)[4])
{
    for (int j = 0; j < N; j++)
        for (int i = 0; i < 4; i++)
            x[j][i] = 0;
}

/* s[16 x N] = rows `row` .. of a times the N rows of b, over D channels. */
template <int D, int N>
BR_INLINE void multiply_rows(float (*s)[4], bf16 *a_tile, int row, bf16 *b_tile)
{
    const int lane = (int)threadIdx.x % 32;
    const int m = lane / 8, l = lane % 8;
    for (int j = 0; j < N / 8; j++)
        for (int i = 0; i < 4; i++)
            s[j][i] = 0;
    BR_UNROLL_2
    for (int step = 0; step < D / 16; step++) {
        uint32_t a[4];
        gpu_ldmatrix_x4(a, piece<D>(a_tile, row + m % 2 * 8 + l, step * 2 + m / 2));
        BR_UNROLL
        for (int j = 0; j < N / 8; j += 2) {
            uint32_t b[4]; /* of two neighbouring 8 rows */
            gpu_ldmatrix_x4(b, piece<D>(b_tile, j * 8 + m / 2 * 8 + l, step * 2 + m % 2));
            gpu_mma_bf16(s[j], a, b);
            gpu_mma_bf16(s[j + 1], a, b + 2);
        }
    }
}

BR_INLINE uint32_t pair_of(float low, float high)
{
    return (uint32_t)bf16_of(high).bits << 16 | bf16_of(low).bits;
}

/* o[16 x N] += a, 16 x 16, times rows 16 step .. of v[., N]. */
template <int N> BR_INLINE void multiply_step(float (*o)[4], const uint32_t a[4], bf16 *v, int step)
{
    const int lane = (int)threadIdx.x % 32, m = lane / 8, l = lane % 8;
    BR_UNROLL
    for (int j = 0; j < N / 8; j += 2) {
        uint32_t b[4]; /* of two neighbouring 8 columns */
        gpu_ldmatrix_x4_trans(b, piece<N>(v, step * 16 + m % 2 * 8 + l, j + m / 2));
        gpu_mma_bf16(o[j], a, b);
        gpu_mma_bf16(o[j + 1], a, b + 2);
    }
}

/* o[16 x D] += s[16 x N], rounded to bfloat16, times the N rows of v. */
template <int D, int N> BR_INLINE void multiply_onto(float (*o)[4], float (*s)[4], bf16 *v)
{
    BR_UNROLL
    for (int step = 0; step < N / 16; step++) {
        const float *low = s[2 * step], *high = s[2 * step + 1];
        const uint32_t a[4] = {pair_of(low[0], low[1]), pair_of(low[2], low[3]),
                               pair_of(high[0], high[1]), pair_of(high[2], high[3])};
        multiply_step<D>(o, a, v, step);
    }
}

/* o[16 x N] += rows `row` .. of a[., K] times the K rows of b[., N]. */
template <int K, int N>
BR_INLINE void multiply_tiles_onto(float (*o)[4], bf16 *a_tile, int row, bf16 *b_tile)
{
    const int lane = (int)threadIdx.x % 32, m = lane / 8, l = lane % 8;
    BR_UNROLL_2
    for (int step = 0; step < K / 16; step++) {
        uint32_t a[4];
        gpu_ldmatrix_x4(a, piece<K>(a_tile, row + m % 2 * 8 + l, step * 2 + m / 2));
        multiply_step<N>(o, a, b_tile, step);
    }
}

/* o[16 x N] += columns `col` .. of a[K, D], as rows, times the K rows of b[., N]. */
template <int D, int K, int N>
BR_INLINE void multiply_columns_onto(float (*o)[4], bf16 *a_tile, int col, bf16 *b_tile)
{
    const int lane = (int)threadIdx.x % 32, m = lane / 8, l = lane % 8;
    BR_UNROLL_2
    for (int step = 0; step < K / 16; step++) {
        uint32_t a[4];
        gpu_ldmatrix_x4_trans(a, piece<D>(a_tile, step * 16 + m / 2 * 8 + l, col / 8 + m % 2));
        multiply_step<N>(o, a, b_tile, step);
    }
}

#endif
