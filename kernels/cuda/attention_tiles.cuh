/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* attention_tiles.cuh - what attention by tensor cores and its gradient share: where a block's rows
 * are, tiles in shared memory, and the products of a warp.
 *
 * Fragments are those of mma.m16n8k16: of a 16 x 8 result lane l has columns 2 (l % 4) + {0, 1} of
 * rows l / 4 and l / 4 + 8.  Shared rows are pieces of 16 bytes, of which piece p of row r lies at
 * p ^ (r % 8), so that the eight rows of one ldmatrix meet eight different banks. */
#ifndef BR__CUDA_ATTENTION_TILES_H
#define BR__CUDA_ATTENTION_TILES_H

#include "attention.cuh"

#define ROWS 64
#define THREADS 128 /* a warp to 16 rows */
#define LOG2_E 1.4426950408889634f

template <int D> BR_INLINE bf16 *piece(bf16 *tile, int row, int p)
{
    return tile + row * D + ((p ^ (row & 7)) << 3);
}

/* Where a block's rows are. */
struct place {
    struct seq s;
    int64_t first; /* of the sequence's rows, or keys */
    int key;       /* head */
};

/* Block number `block` of all sequences' blocks of ROWS rows, or keys; a warp looks.  False: there
 * are fewer. */
template <bool OF_KEYS>
BR_INLINE bool find_place(const struct attention &a, int64_t block, struct place *p)
{
    int64_t before = 0; /* blocks of the sequences before the 32 that are looked at */
    for (int i = 0; i < a.seqs.n; i += 32) {
        const int mine = i + (int)(threadIdx.x % 32);
        struct seq s;
        int64_t n = 0;
        if (mine < a.seqs.n && seq_at(a.seqs, mine, a.T, a.S, &s))
            n = div_up(OF_KEYS ? s.nk : s.nq * a.group, ROWS);
        int64_t upto = n;
        for (unsigned d = 1; d < 32; d *= 2) {
            const int64_t left = gpu_shfl_up(upto, d);
            if (threadIdx.x % 32 >= d)
                upto += left;
        }
        const uint32_t has = gpu_ballot(n > 0 && block < before + upto);
        if (has) {
            const int lane = gpu_ffs(has) - 1;
            p->first = (block - before - gpu_shfl(upto - n, lane)) * ROWS;
            return seq_at(a.seqs, i + lane, a.T, a.S, &p->s);
        }
        before += gpu_shfl(upto, 31);
    }
    return false;
}

/* ---- tiles in shared memory ------------------------------------------------------------------ */

/* N keys from k on of the sequence, zeros from `end` on. */
template <int D, int N>
BR_INLINE void load_keys(bf16 *to, const struct attention &a, const struct rows &x, const place &p,
                         int64_t k, int64_t end)
{
    BR_NO_UNROLL
    for (int i = (int)threadIdx.x; i < N * D / 8; i += THREADS) {
        const int row = i / (D / 8), at = i % (D / 8);
        const bool there = k + row < end;
        const int64_t from = there ? a.key_at(x, p.s.k0 + k + row, p.key) + at * 8 : 0;
        gpu_copy16_async(piece<D>(to, row, at), (const bf16 *)x.data + from, there);
    }
}

/* N rows from r on of the sequence, zeros beyond. */
template <int D, int N>
BR_INLINE void load_rows(bf16 *to, const struct attention &a, const struct rows &x, const place &p,
                         int64_t r)
{
    BR_NO_UNROLL
    for (int i = (int)threadIdx.x; i < N * D / 8; i += THREADS) {
        const int row = i / (D / 8), at = i % (D / 8);
        const int64_t mine = r + row;
        const bool there = mine < p.s.nq * a.group;
        const int head = p.key * a.group + (int)(mine % a.group);
        const int64_t from = there ? a.query_at(x, p.s.q0 + mine / a.group, head) + at * 8 : 0;
        gpu_copy16_async(piece<D>(to, row, at), (const bf16 *)x.data + from, there);
    }
}

/* ---- products of a warp ---------------------------------------------------------------------- */

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

/* o[16 x D] += s[16 x N], rounded to bfloat16, times the N rows of v. */
template <int D, int N> BR_INLINE void multiply_onto(float (*o)[4], float (*s)[4], bf16 *v)
{
    const int lane = (int)threadIdx.x % 32, m = lane / 8, l = lane % 8;
    BR_UNROLL
    for (int step = 0; step < N / 16; step++) {
        const float *low = s[2 * step], *high = s[2 * step + 1];
        const uint32_t a[4] = {pair_of(low[0], low[1]), pair_of(low[2], low[3]),
                               pair_of(high[0], high[1]), pair_of(high[2], high[3])};
        BR_UNROLL
        for (int j = 0; j < D / 8; j += 2) {
            uint32_t b[4]; /* of two neighbouring 8 channels */
            gpu_ldmatrix_x4_trans(b, piece<D>(v, step * 16 + m % 2 * 8 + l, j + m / 2));
            gpu_mma_bf16(o[j], a, b);
            gpu_mma_bf16(o[j + 1], a, b + 2);
        }
    }
}

#endif
