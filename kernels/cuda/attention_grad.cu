/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* attention_grad.cu - the gradient of attention by tensor cores, for values of bfloat16 and heads
 * of 64, 128 or 256 channels.
 *
 * Rows are queries and heads of a group as in attention.cu.  Two kernels, so that no two blocks
 * add to the same numbers: a block of the first owns 64 keys of a key head and goes through the
 * rows that see them, one of the second owns 64 rows and goes through the keys that they see:
 *     P = e^(scale Q K' - log sum),  dS = P (dO V' - dO . O) scale
 *     dV = P' dO,  dK = dS' Q;       dQ = dS K
 * P and dS are rounded to bfloat16 for the last three products; sums are float32.  Registers do not
 * hold dK and dV of 256 channels at once, so there the first kernel runs twice. */
#include "attention_tiles.cuh"

/* Rows, or keys, that a block looks at at once: as many as leave the sums of D channels in
 * registers, and the tiles in the shared memory of every GPU. */
template <int D> struct slice {
    static constexpr int size = D <= 128 ? 32 : 16;
};

/* What of a key the first kernel makes. */
enum { DK = 1, DV = 2 };

/* What a block keeps of its rows beside q and dO. */
struct row_facts {
    int own; /* position; -1: no such row */
    float log_sum, along;
};

/* Row r of the sequence; log_sum is in powers of two. */
BR_INLINE struct row_facts facts_of(const struct back &b, const struct place &p, int64_t r)
{
    const struct attention &a = b.a;
    if (r >= p.s.nq * a.group)
        return row_facts{-1, 0.f, 0.f};
    const int64_t t = p.s.q0 + r / a.group;
    const int head = p.key * a.group + (int)(r % a.group);
    return row_facts{(int)(p.s.nk - p.s.nq + r / a.group),
                     b.log_sum[t * b.log_stride + head] * LOG2_E, b.along[t * a.heads + head]};
}

/* Scores and dO V' of one row and key into P and dS. */
BR_INLINE void back_element(const struct attention &a, const struct row_facts &f, int key,
                            float *score, float *dp)
{
    const bool sees = key <= f.own && (a.window <= 0 || key > f.own - a.window);
    const float p = sees ? gpu_exp2(fmaf(*score, a.scale * LOG2_E, -f.log_sum)) : 0.f;
    *dp = p * (*dp - f.along) * a.scale;
    *score = p;
}

/* ---- dK and dV ------------------------------------------------------------------------------- */

/* 16 rows of a result; row(i): where the rows of this lane begin, or -1 if they are none. */
template <int D> BR_INLINE void store_sums(const struct rows &out, const int64_t *at, float (*x)[4])
{
    const int col = (int)threadIdx.x % 4 * 2;
    BR_UNROLL
    for (int r = 0; r < 2; r++) {
        if (at[r] < 0)
            continue;
        BR_UNROLL
        for (int j = 0; j < D / 8; j++) {
            out.write(at[r] + j * 8 + col, x[j][2 * r]);
            out.write(at[r] + j * 8 + col + 1, x[j][2 * r + 1]);
        }
    }
}

/* Grid: blocks of keys by key heads.  Shared: keys and values [ROWS, D]; twice q and dO
 * [SLICE, D]. */
template <int D, int PARTS> BR_KERNEL(THREADS, 1) grad_key_tiles(struct back b)
{
    constexpr int SLICE = slice<D>::size;
    BR_DYN_SHARED(bf16, shared);
    BR_SHARED(struct row_facts, facts, 2 * SLICE);
    const struct attention &a = b.a;
    constexpr int size = SLICE * D;
    bf16 *k = shared, *v = k + ROWS * D, *qy = v + ROWS * D;
    struct place p;
    p.key = (int)blockIdx.y;
    if (!find_place<true>(a, blockIdx.x, &p)) /* the whole block leaves */
        return;

    /* rows of the queries that see any of the keys */
    const int64_t before = p.s.nk - p.s.nq, last = min_of(p.first + ROWS, p.s.nk) - 1;
    const int64_t to = a.window > 0 ? min_of(last + a.window, p.s.nk) : p.s.nk;
    const int64_t from = (max_of(p.first, before) - before) * a.group / SLICE * SLICE;
    const int n = (int)max_of(div_up((to - before) * a.group - from, SLICE), 0);
    const int row = (int)threadIdx.x / 32 * 16;
    float dk[D / 8][4], dv[D / 8][4], s[SLICE / 8][4], dp[SLICE / 8][4];
    clear<D / 8>(dk);
    clear<D / 8>(dv);
    clear<SLICE / 8>(dp);

    load_keys<D, ROWS>(k, a, a.k, p, p.first, p.s.nk);
    if (PARTS & DK)
        load_keys<D, ROWS>(v, a, a.v, p, p.first, p.s.nk);
    load_rows<D, SLICE>(qy, a, a.q, p, from);
    load_rows<D, SLICE>(qy + size, a, b.y, p, from);
    gpu_copy_commit();
    for (int i = 0; i < n; i++) {
        const int64_t r = from + (int64_t)i * SLICE;
        bf16 *q = qy + i % 2 * 2 * size, *y = q + size, *next = qy + (i + 1) % 2 * 2 * size;
        struct row_facts *f = facts + i % 2 * SLICE;
        if (i + 1 < n) {
            load_rows<D, SLICE>(next, a, a.q, p, r + SLICE);
            load_rows<D, SLICE>(next + size, a, b.y, p, r + SLICE);
        }
        gpu_copy_commit();
        if (threadIdx.x < SLICE)
            f[threadIdx.x] = facts_of(b, p, r + threadIdx.x);
        gpu_copy_wait<1>();
        gpu_sync();
        multiply_rows<D, SLICE>(s, k, row, q);
        if (PARTS & DK)
            multiply_rows<D, SLICE>(dp, v, row, y);
        BR_UNROLL
        for (int j = 0; j < SLICE / 8; j++) {
            BR_UNROLL
            for (int e = 0; e < 4; e++) {
                const int lane = (int)threadIdx.x % 32;
                back_element(a, f[j * 8 + lane % 4 * 2 + e % 2],
                             (int)p.first + row + lane / 4 + e / 2 * 8, &s[j][e], &dp[j][e]);
            }
        }
        if (PARTS & DV)
            multiply_onto<D, SLICE>(dv, s, y);
        if (PARTS & DK)
            multiply_onto<D, SLICE>(dk, dp, q);
        gpu_sync();
    }
    gpu_copy_wait<0>();

    const int kv_heads = a.heads / a.group;
    int64_t at[2][2]; /* of dK and of dV */
    for (int e = 0; e < 2; e++) {
        const int64_t mine = p.first + row + threadIdx.x % 32 / 4 + 8 * e;
        for (int what = 0; what < 2; what++)
            at[what][e] =
                mine < p.s.nk ? b.out_at(p.s.k0 + mine, a.heads + what * kv_heads + p.key) : -1;
    }
    if (PARTS & DK)
        store_sums<D>(b.out, at[0], dk);
    if (PARTS & DV)
        store_sums<D>(b.out, at[1], dv);
}

/* ---- dQ -------------------------------------------------------------------------------------- */

/* Grid: blocks of rows by key heads.  Shared: q and dO [ROWS, D]; twice keys and values
 * [SLICE, D]. */
template <int D> BR_KERNEL(THREADS, 1) grad_row_tiles(struct back b)
{
    constexpr int SLICE = slice<D>::size;
    BR_DYN_SHARED(bf16, shared);
    const struct attention &a = b.a;
    constexpr int size = SLICE * D;
    bf16 *q = shared, *y = q + ROWS * D, *kv = y + ROWS * D;
    struct place p;
    p.key = (int)blockIdx.y;
    if (!find_place<false>(a, blockIdx.x, &p)) /* the whole block leaves */
        return;

    /* the keys that any of the rows sees */
    const int64_t before = p.s.nk - p.s.nq, rows = min_of(p.s.nq * a.group - p.first, ROWS);
    const int64_t end = before + (p.first + rows - 1) / a.group + 1;
    const int64_t from = first_key(a, before + p.first / a.group) / SLICE * SLICE;
    const int n = (int)div_up(end - from, SLICE);
    const int row = (int)threadIdx.x / 32 * 16, lane = (int)threadIdx.x % 32;
    float dq[D / 8][4], s[SLICE / 8][4], dp[SLICE / 8][4];
    struct row_facts f[2];
    int64_t at[2];
    clear<D / 8>(dq);
    for (int e = 0; e < 2; e++) {
        const int64_t r = p.first + row + lane / 4 + 8 * e;
        f[e] = facts_of(b, p, r);
        at[e] = f[e].own < 0 ? -1
                             : b.out_at(p.s.q0 + r / a.group, p.key * a.group + (int)(r % a.group));
    }

    load_rows<D, ROWS>(q, a, a.q, p, p.first);
    load_rows<D, ROWS>(y, a, b.y, p, p.first);
    load_keys<D, SLICE>(kv, a, a.k, p, from, end);
    load_keys<D, SLICE>(kv + size, a, a.v, p, from, end);
    gpu_copy_commit();
    for (int i = 0; i < n; i++) {
        const int64_t key = from + (int64_t)i * SLICE;
        bf16 *k = kv + i % 2 * 2 * size, *v = k + size, *next = kv + (i + 1) % 2 * 2 * size;
        if (i + 1 < n) {
            load_keys<D, SLICE>(next, a, a.k, p, key + SLICE, end);
            load_keys<D, SLICE>(next + size, a, a.v, p, key + SLICE, end);
        }
        gpu_copy_commit();
        gpu_copy_wait<1>();
        gpu_sync();
        multiply_rows<D, SLICE>(s, q, row, k);
        multiply_rows<D, SLICE>(dp, y, row, v);
        BR_UNROLL
        for (int j = 0; j < SLICE / 8; j++) {
            BR_UNROLL
            for (int e = 0; e < 4; e++)
                back_element(a, f[e / 2], (int)key + j * 8 + lane % 4 * 2 + e % 2, &s[j][e],
                             &dp[j][e]);
        }
        multiply_onto<D, SLICE>(dq, dp, k);
        gpu_sync();
    }
    store_sums<D>(b.out, at, dq);
}

/* ---- launch ---------------------------------------------------------------------------------- */

bool br__cuda_back_suits_tiles(const struct back *b)
{
    const struct attention *a = &b->a;
    return br__cuda_suits_tiles(a) && a->q.dtype == BR_BF16 && b->y.dtype == BR_BF16 &&
           b->is_wide_qy && b->out.stride[0] == b->out.cols;
}

template <int D> static void launch_back(const struct br_call *c, const struct back *b)
{
    const struct attention *a = &b->a;
    const unsigned heads = (unsigned)(a->heads / a->group);
    const size_t shared = (size_t)(2 * ROWS + 4 * slice<D>::size) * D * sizeof(bf16);
    /* each sequence may begin a block of its own */
    const int64_t keys = div_up(a->S, ROWS) + a->seqs.n,
                  rows = div_up((int64_t)a->T * a->group, ROWS) + a->seqs.n;
    const dim3 of_keys((unsigned)keys, heads);
    if constexpr (D <= 128) {
        BR_LAUNCH(c, (grad_key_tiles<D, DK | DV>), of_keys, THREADS, shared, *b);
    } else {
        BR_LAUNCH(c, (grad_key_tiles<D, DK>), of_keys, THREADS, shared, *b);
        BR_LAUNCH(c, (grad_key_tiles<D, DV>), of_keys, THREADS, shared, *b);
    }
    BR_LAUNCH(c, grad_row_tiles<D>, dim3((unsigned)rows, heads), THREADS, shared, *b);
}

void br__cuda_back_tiles(const struct br_call *c, const struct back *b)
{
    /* rows of no sequence */
    br__cuda_zero(c, b->out.data, (size_t)b->out.count * b->out.cols * dtype_bytes(b->out.dtype));
    if (b->a.d == 64)
        launch_back<64>(c, b);
    else if (b->a.d == 128)
        launch_back<128>(c, b);
    else
        launch_back<256>(c, b);
}
