/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* delta_chunk.cuh - what the gated delta rule in chunks and its gradient share: where chunks are,
 * their tiles, and what one launch hands on to the next.  delta_chunk.cu has the formulas. */
#ifndef BR__CUDA_DELTA_CHUNK_CUH
#define BR__CUDA_DELTA_CHUNK_CUH

#include "delta.cuh"
#include "tile.cuh"

#define CHUNK 64
#define HEAD 128    /* channels of a key and of a value */
#define COLS 32     /* of the state, of a block */
#define THREADS 128 /* a warp to 16 tokens */
#define TILE_BYTES (CHUNK * HEAD * sizeof(bf16))

/* What the launches hand on, by chunk and head. */
struct chunks {
    bf16 *w, *d;   /* [CHUNK, HEAD]; d is U until the second launch */
    bf16 *before;  /* the state before the chunk, [HEAD, HEAD] */
    float *decay;  /* G, [CHUNK] */
    bf16 *inverse; /* T, [CHUNK, CHUNK]; NULL: not wanted */
    int heads;

    BR_INLINE int64_t index(int64_t number, int head) const
    {
        return number * heads + head;
    }
};

struct chunk {
    struct seq s;
    int64_t first; /* token of the sequence */
    int n;         /* tokens, at most CHUNK */
};

struct chunks_of_seq {
    const struct delta &a;

    BR_INLINE int64_t operator()(int64_t i) const
    {
        struct seq s;
        return seq_at(a.seqs, (int)i, a.T, INT64_MAX, &s) ? div_up(s.nq, CHUNK) : 0;
    }
};

/* Chunk number `number` of all sequences'; a warp looks.  False: there are fewer. */
BR_INLINE bool find_chunk(const struct delta &a, int64_t number, struct chunk *c)
{
    int64_t own;
    const int64_t i = warp_find(a.seqs.n, number, chunks_of_seq{a}, &own);
    if (i < 0)
        return false;
    seq_at(a.seqs, (int)i, a.T, INT64_MAX, &c->s);
    c->first = own * CHUNK;
    c->n = (int)min_of(c->s.nq - c->first, CHUNK);
    return true;
}

/* Chunks of the sequences before number n, which a warp counts. */
BR_INLINE int64_t chunks_before(const struct delta &a, int n)
{
    int64_t sum = 0;
    for (int i = (int)(threadIdx.x % 32); i < n; i += 32)
        sum += chunks_of_seq{a}(i);
    return warp_sum(sum);
}

/* ---- tiles ----------------------------------------------------------------------------------- */

/* n rows of x, `step` apart; zeros up to CHUNK. */
BR_INLINE void load_tile(bf16 *to, const bf16 *x, int64_t step, int n)
{
    BR_NO_UNROLL
    for (int i = (int)threadIdx.x; i < CHUNK * HEAD / 8; i += THREADS) {
        const int row = i / (HEAD / 8), at = i % (HEAD / 8);
        const int64_t from = row < n ? row * step + at * 8 : 0;
        gpu_copy16_async(piece<HEAD>(to, row, at), x + from, row < n);
    }
}

/* Rows of a head, of the chunk's tokens.  [T, heads, HEAD]: a step from token to token. */
BR_INLINE void load_head(bf16 *to, const struct rows &x, const struct chunk &c, int heads, int head)
{
    const int64_t t = c.s.q0 + c.first, from = x.at((uint32_t)(t * heads + head));
    const int64_t step = c.n > 1 ? x.at((uint32_t)((t + 1) * heads + head)) - from : 0;
    load_tile(to, (const bf16 *)x.data + from, step, c.n);
}

/* Where lane's numbers of a 16 x 8 result are. */
BR_INLINE int fragment_row(int e)
{
    return (int)threadIdx.x / 32 * 16 + (int)threadIdx.x % 32 / 4 + e / 2 * 8;
}
BR_INLINE int fragment_col(int j, int e)
{
    return j * 8 + (int)threadIdx.x % 4 * 2 + e % 2;
}

/* 16 rows of a warp, of [CHUNK, HEAD] in scratch. */
BR_INLINE void store_tile(bf16 *to, float (*x)[4])
{
    BR_UNROLL
    for (int j = 0; j < HEAD / 8; j++) {
        BR_UNROLL
        for (int e = 0; e < 4; e += 2)
            *(uint32_t *)(void *)(to + fragment_row(e) * HEAD + fragment_col(j, e)) =
                pair_of(x[j][e], x[j][e + 1]);
    }
}

/* COLS columns of a state, [HEAD, COLS]: a warp has 32 rows, in two times 16. */
struct state_part {
    float x[2][COLS / 8][4];

    static BR_INLINE int row(int half, int e)
    {
        return (int)threadIdx.x / 32 * 32 + half * 16 + (int)threadIdx.x % 32 / 4 + e / 2 * 8;
    }
    BR_INLINE void scale(float by)
    {
        BR_UNROLL
        for (int half = 0; half < 2; half++) {
            BR_UNROLL
            for (int j = 0; j < COLS / 8; j++) {
                BR_UNROLL
                for (int e = 0; e < 4; e++)
                    x[half][j][e] *= by;
            }
        }
    }
};

/* As bfloat16: into shared memory, and into scratch for a later launch. */
BR_INLINE void state_publish(const struct state_part *s, bf16 *shared, bf16 *scratch)
{
    BR_UNROLL
    for (int half = 0; half < 2; half++) {
        BR_UNROLL
        for (int j = 0; j < COLS / 8; j++) {
            BR_UNROLL
            for (int e = 0; e < 4; e += 2) {
                const int row = state_part::row(half, e), col = fragment_col(j, e);
                const uint32_t pair = pair_of(s->x[half][j][e], s->x[half][j][e + 1]);
                *(uint32_t *)(void *)(piece<COLS>(shared, row, col / 8) + col % 8) = pair;
                *(uint32_t *)(void *)(scratch + row * HEAD + col) = pair;
            }
        }
    }
}

/* s += columns of a[CHUNK, HEAD] times b[CHUNK, COLS] */
BR_INLINE void state_add(struct state_part *s, bf16 *a, bf16 *b)
{
    BR_UNROLL
    for (int half = 0; half < 2; half++)
        multiply_columns_onto<HEAD, CHUNK, COLS>(s->x[half], a,
                                                 (int)threadIdx.x / 32 * 32 + half * 16, b);
}

/* delta_chunk.cu: the first two launches.  o: of br__cuda_chunks_carve(), which returns the bytes.
 */
size_t br__cuda_chunks_carve(const struct delta *a, bool with_inverse, struct carve *s,
                             struct chunks *o);
int64_t br__cuda_most_chunks(const struct delta *a);
void br__cuda_delta_states(const struct br_call *c, const struct delta *a, const struct chunks *o,
                           struct states all);

#endif
