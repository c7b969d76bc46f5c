/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* attention_tiles.cuh - what attention by tensor cores and its gradient share: where a block's rows
 * are, and their tiles in shared memory. */
#ifndef BR__CUDA_ATTENTION_TILES_H
#define BR__CUDA_ATTENTION_TILES_H

#include "attention.cuh"
#include "tile.cuh"

#define ROWS 64
#define THREADS 128 /* a warp to 16 rows */
#define LOG2_E 1.4426950408889634f

/* Where a block's rows are. */
struct place {
    struct seq s;
    int64_t first; /* of the sequence's rows, or keys */
    int key;       /* head */
};

/* Blocks of ROWS rows, or keys, of a sequence. */
template <bool OF_KEYS> struct blocks_of_seq {
    const struct attention &a;

    BR_INLINE int64_t operator()(int64_t i) const
    {
        struct seq s;
        const bool owns = seq_at(a.seqs, (int)i, a.T, a.S, &s);
        return owns ? div_up(OF_KEYS ? s.nk : s.nq * a.group, ROWS) : 0;
    }
};

/* Block number `block` of all sequences' blocks; a warp looks.  False: there are fewer. */
template <bool OF_KEYS>
BR_INLINE bool find_place(const struct attention &a, int64_t block, struct place *p)
{
    int64_t own;
    const int64_t i = warp_find(a.seqs.n, block, blocks_of_seq<OF_KEYS>{a}, &own);
    if (i < 0)
        return false;
    p->first = own * ROWS;
    return seq_at(a.seqs, (int)i, a.T, a.S, &p->s);
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

#endif
