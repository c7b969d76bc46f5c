/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* attention.cu - causal attention by tensor cores, for keys and values of bfloat16 and heads of 64,
 * 128 or 256 channels (FlashAttention, Dao et al. 2022).
 *
 * The query heads of a group share a key head, so they are rows of one matrix: row r of a sequence
 * is query r / group, head r % group.  A block has ROWS rows and one key head, and goes through the
 * keys 64 or 32 at a time; a warp has 16 rows:
 *     S = Q K' (16 x keys), P = e^(scale (S - max)), O = O fade + P V (16 x D)
 * Q and P are rounded to bfloat16; scores, maxima and sums are float32.
 * attention_tiles.cuh has the products. */
#include "attention_tiles.cuh"

/* Keys at once: as many as leave the sums of a row of D channels in registers, and two tiles of
 * keys and values in the shared memory of every GPU. */
template <int D> struct shape {
    static constexpr int keys = D <= 128 ? 64 : 32;
};

/* ---- shared memory --------------------------------------------------------------------------- */

template <int D> BR_INLINE void load_queries(bf16 *to, const struct attention &a, const place &p)
{
    BR_NO_UNROLL
    for (int i = (int)threadIdx.x; i < ROWS * D / 8; i += THREADS) {
        const int row = i / (D / 8), at = i % (D / 8);
        const int64_t r = p.first + row;
        float v[8] = {0, 0, 0, 0, 0, 0, 0, 0};
        if (r < p.s.nq * a.group) {
            const int head = p.key * a.group + (int)(r % a.group);
            read_many<8>(v, a.q.data, a.q.dtype,
                         a.query_at(a.q, p.s.q0 + r / a.group, head) + at * 8);
        }
        vec<uint16_t, 8> half;
        for (int j = 0; j < 8; j++)
            half.v[j] = bf16_of(v[j]).bits;
        *(vec<uint16_t, 8> *)piece<D>(to, row, at) = half;
    }
}

/* ---- one warp's rows ------------------------------------------------------------------------- */

template <int D> struct warp_rows {
    float o[D / 8][4];              /* 16 x D */
    float s[shape<D>::keys / 8][4]; /* 16 x keys */
    float most[2], sum[2];          /* of rows l / 4 and l / 4 + 8; sum: of this lane's columns */
    int own[2];                     /* their positions; -1: no such row */
};

/* Scores of keys k .. that a row does not see become -inf. */
template <int D> BR_INLINE void mask(warp_rows<D> *w, const struct attention &a, int64_t k)
{
    const int lane = (int)threadIdx.x % 32;
    BR_UNROLL
    for (int j = 0; j < shape<D>::keys / 8; j++) {
        BR_UNROLL
        for (int i = 0; i < 4; i++) {
            const int key = (int)k + j * 8 + lane % 4 * 2 + i % 2, own = w->own[i / 2];
            if (key > own || (a.window > 0 && key <= own - a.window))
                w->s[j][i] = -INFINITY;
        }
    }
}

/* Scores into weights; what was summed before is rescaled where the maximum grew. */
template <int D> BR_INLINE void weigh(warp_rows<D> *w, float scale)
{
    const float factor = scale * LOG2_E;
    BR_UNROLL
    for (int r = 0; r < 2; r++) {
        float most = w->most[r];
        BR_UNROLL
        for (int j = 0; j < shape<D>::keys / 8; j++)
            most = fmaxf(most, fmaxf(w->s[j][2 * r], w->s[j][2 * r + 1]));
        most = fmaxf(most, gpu_shfl_xor(most, 1));
        most = fmaxf(most, gpu_shfl_xor(most, 2));
        /* no key seen yet: -inf - -inf would be NaN */
        const float base = most == -INFINITY ? 0.f : most * factor;
        const float fade = gpu_exp2(fmaf(w->most[r], factor, -base));
        w->most[r] = most;
        w->sum[r] *= fade;
        BR_UNROLL
        for (int j = 0; j < shape<D>::keys / 8; j++) {
            BR_UNROLL
            for (int i = 2 * r; i < 2 * r + 2; i++) {
                w->s[j][i] = gpu_exp2(fmaf(w->s[j][i], factor, -base));
                w->sum[r] += w->s[j][i];
            }
        }
        BR_UNROLL
        for (int j = 0; j < D / 8; j++) {
            w->o[j][2 * r] *= fade;
            w->o[j][2 * r + 1] *= fade;
        }
    }
}

template <int D>
BR_INLINE void store_rows(warp_rows<D> *w, const struct attention &a, const place &p,
                          const struct rows &out, float *log_sum, int64_t log_stride)
{
    const int lane = (int)threadIdx.x % 32, row = (int)threadIdx.x / 32 * 16 + lane / 4;
    BR_UNROLL
    for (int r = 0; r < 2; r++) {
        float sum = w->sum[r];
        sum += gpu_shfl_xor(sum, 1);
        sum += gpu_shfl_xor(sum, 2);
        if (w->own[r] < 0)
            continue;
        const int64_t at = p.first + row + 8 * r, t = p.s.q0 + at / a.group;
        const int head = p.key * a.group + (int)(at % a.group);
        const int64_t to = a.query_at(out, t, head) + lane % 4 * 2;
        const float by = 1.f / sum;
        BR_UNROLL
        for (int j = 0; j < D / 8; j++) {
            out.write(to + j * 8, w->o[j][2 * r] * by);
            out.write(to + j * 8 + 1, w->o[j][2 * r + 1] * by);
        }
        if (log_sum && lane % 4 == 0)
            log_sum[t * log_stride + head] = w->most[r] * a.scale + logf(sum);
    }
}

/* ---- the kernel ------------------------------------------------------------------------------ */

/* Grid: blocks of rows by key heads.  Shared: queries [ROWS, D]; twice keys and values
 * [keys, D], of which one pair is loaded while the other is used. */
template <int D>
BR_KERNEL(THREADS, 1)
attend_tiles(struct rows out, struct attention a, float *log_sum, int64_t log_stride)
{
    BR_DYN_SHARED(bf16, shared);
    constexpr int keys_at_once = shape<D>::keys, size = keys_at_once * D;
    bf16 *q = shared, *kv = q + ROWS * D;
    struct place p;
    p.key = (int)blockIdx.y;
    if (!find_place<false>(a, blockIdx.x, &p)) /* the whole block leaves */
        return;

    /* positions of the block's first and last row, and the keys that any of them sees */
    const int64_t before = p.s.nk - p.s.nq, rows = min_of(p.s.nq * a.group - p.first, ROWS);
    const int64_t own_first = before + p.first / a.group;
    const int64_t own_last = before + (p.first + rows - 1) / a.group;
    const int64_t from = first_key(a, own_first) / keys_at_once * keys_at_once, end = own_last + 1;
    const int n_tiles = (int)div_up(end - from, keys_at_once);

    warp_rows<D> w;
    for (int j = 0; j < D / 8; j++)
        for (int i = 0; i < 4; i++)
            w.o[j][i] = 0;
    for (int r = 0; r < 2; r++) {
        const int64_t row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4 + 8 * r;
        w.own[r] = row < rows ? (int)(before + (p.first + row) / a.group) : -1;
        w.most[r] = -INFINITY;
        w.sum[r] = 0;
    }

    load_keys<D, keys_at_once>(kv, a, a.k, p, from, end);
    load_keys<D, keys_at_once>(kv + size, a, a.v, p, from, end);
    gpu_copy_commit();
    load_queries<D>(q, a, p);
    for (int i = 0; i < n_tiles; i++) {
        const int64_t k = from + (int64_t)i * keys_at_once;
        bf16 *keys = kv + i % 2 * 2 * size, *values = keys + size;
        bf16 *next = kv + (i + 1) % 2 * 2 * size;
        if (i + 1 < n_tiles) {
            load_keys<D, keys_at_once>(next, a, a.k, p, k + keys_at_once, end);
            load_keys<D, keys_at_once>(next + size, a, a.v, p, k + keys_at_once, end);
        }
        gpu_copy_commit();
        gpu_copy_wait<1>();
        gpu_sync();
        multiply_rows<D, keys_at_once>(w.s, q, (int)threadIdx.x / 32 * 16, keys);
        if (k + keys_at_once > own_first + 1 || (a.window > 0 && k <= own_last - a.window) ||
            rows < ROWS)
            mask<D>(&w, a, k);
        weigh<D>(&w, a.scale);
        multiply_onto<D, keys_at_once>(w.o, w.s, values);
        gpu_sync();
    }
    store_rows<D>(&w, a, p, out, log_sum, log_stride);
}

/* ---- launch ---------------------------------------------------------------------------------- */

#define MIN_TILE_ROWS 32 /* of a key head, from which tiles pay */

bool br__cuda_suits_tiles(const struct attention *a)
{
    return (a->d == 64 || a->d == 128 || a->d == 256) && a->k.dtype == BR_BF16 &&
           a->v.dtype == BR_BF16 && a->is_wide && is_aligned(&a->q, 8) &&
           (int64_t)a->T * a->group >= MIN_TILE_ROWS * a->seqs.n;
}

template <int D>
static void launch_tiles(const struct br_call *c, const struct attention *a, struct rows out,
                         float *log_sum, int64_t log_stride)
{
    /* each sequence may begin a block of its own */
    const int64_t blocks = div_up((int64_t)a->T * a->group, ROWS) + a->seqs.n;
    const size_t shared = (size_t)(ROWS + 4 * shape<D>::keys) * D * sizeof(bf16);
    BR_LAUNCH(c, attend_tiles<D>, dim3((unsigned)blocks, (unsigned)(a->heads / a->group)), THREADS,
              shared, out, *a, log_sum, log_stride);
}

void br__cuda_attend_tiles(const struct br_call *c, const struct attention *a, struct rows out,
                           float *log_sum, int64_t log_stride)
{
    br__cuda_zero_unowned(c, &c->in[3], a->S);
    if (a->d == 64)
        launch_tiles<64>(c, a, out, log_sum, log_stride);
    else if (a->d == 128)
        launch_tiles<128>(c, a, out, log_sum, log_stride);
    else
        launch_tiles<256>(c, a, out, log_sum, log_stride);
}
