/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* host.cuh - how the tensors of a call look to a kernel, and how many threads a launch has.
 *
 * Launch shapes depend on shapes of tensors only, never on what is in them, so that a graph's
 * launches can be recorded and run again. */
#ifndef BR__CUDA_HOST_H
#define BR__CUDA_HOST_H

#include "device.h"
#include "gpu.cuh"

BR_BOTH int64_t div_up(int64_t n, int64_t by)
{
    return (n + by - 1) / by;
}
BR_BOTH int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
BR_BOTH int64_t max_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- elements of any float dtype ------------------------------------------------------------- */

/* Element `at`, as float32. */
BR_INLINE float read_as_f32(const void *data, uint32_t dtype, int64_t at)
{
    if (dtype == BR_F32)
        return ((const float *)data)[at];
    if (dtype == BR_BF16)
        return f32_of(((const bf16 *)data)[at]);
    return f32_of(((const f16 *)data)[at]);
}

/* Element `at` of float32 or bfloat16, rounded. */
BR_INLINE void write_f32(void *data, uint32_t dtype, int64_t at, float v)
{
    if (dtype == BR_F32)
        ((float *)data)[at] = v;
    else
        ((bf16 *)data)[at] = bf16_of(v);
}

/* log(1 + e^x) without overflow, and without losing e^x beside 1. */
BR_INLINE float softplus(float x)
{
    return x > 0 ? x + log1pf(expf(-x)) : log1pf(expf(x));
}

/* v as memory of that dtype keeps it. */
BR_INLINE float as_kept(float v, uint32_t dtype)
{
    return dtype == BR_BF16 ? f32_of(bf16_of(v)) : v;
}

/* 1 / (1 + e^-x): 0 and 1 at the ends, never 0/0. */
BR_INLINE float sigmoid_of(float x)
{
    return 1.f / (1.f + expf(-x));
}

/* N elements that lie on N * their size. */
template <int N> BR_INLINE void read_many(float *v, const void *data, uint32_t dtype, int64_t at)
{
    if (N == 1) {
        v[0] = read_as_f32(data, dtype, at);
    } else if (dtype == BR_F32) {
        for (int i = 0; i < N; i += 4) {
            vec<float, 4> x = *(const vec<float, 4> *)((const float *)data + at + i);
            for (int j = 0; j < 4; j++)
                v[i + j] = x.v[j];
        }
    } else {
        vec<uint16_t, N> x = *(const vec<uint16_t, N> *)((const uint16_t *)data + at);
        for (int i = 0; i < N; i++)
            v[i] = dtype == BR_BF16 ? f32_of(bf16{x.v[i]}) : f32_of(f16{x.v[i]});
    }
}

template <int N> BR_INLINE void write_many(void *data, uint32_t dtype, int64_t at, const float *v)
{
    if (N == 1) {
        write_f32(data, dtype, at, v[0]);
    } else if (dtype == BR_F32) {
        for (int i = 0; i < N; i += 4)
            *(vec<float, 4> *)((float *)data + at + i) = {v[i], v[i + 1], v[i + 2], v[i + 3]};
    } else {
        vec<uint16_t, N> x;
        for (int i = 0; i < N; i++)
            x.v[i] = bf16_of(v[i]).bits;
        *(vec<uint16_t, N> *)((uint16_t *)data + at) = x;
    }
}

/* ---- tensors as rows ------------------------------------------------------------------------- */

/* All axes but the last, of which there are at most three, as rows of `cols` elements. */
struct rows {
    void *data;
    int64_t stride[3]; /* elements, outermost first */
    uint32_t n[3];     /* lengths of these axes */
    uint32_t count, cols, dtype;

    /* Elements from the first to the first of row r. */
    BR_INLINE int64_t at(uint32_t r) const
    {
        if (n[1] == 1 && n[2] == 1)
            return r * stride[0];
        uint32_t j = r / n[2];
        return (j / n[1]) * stride[0] + (j % n[1]) * stride[1] + (r - j * n[2]) * stride[2];
    }
    BR_INLINE float read(int64_t i) const
    {
        return read_as_f32(data, dtype, i);
    }
    BR_INLINE void write(int64_t i, float v) const
    {
        write_f32(data, dtype, i, v);
    }
};

static inline struct rows rows_of(const struct br_tensor *t)
{
    struct rows r = {t->data, {0, 0, 0}, {1, 1, 1}, 1, 1, t->dtype};
    uint32_t k = 0; /* axes so far: those that lie one behind the other become one */
    r.cols = (uint32_t)(t->n_dim ? t->shape[t->n_dim - 1] : 1);
    for (uint32_t i = 0; i + 1 < t->n_dim; i++) {
        if (t->shape[i] == 1)
            continue;
        r.count *= (uint32_t)t->shape[i];
        if (k && r.stride[k - 1] == t->stride[i] * t->shape[i]) {
            r.n[k - 1] *= (uint32_t)t->shape[i];
            r.stride[k - 1] = t->stride[i];
        } else {
            r.n[k] = (uint32_t)t->shape[i];
            r.stride[k++] = t->stride[i];
        }
    }
    return r;
}

/* A vector that serves every row of what it is used with. */
static inline struct rows every_row(const struct br_tensor *t)
{
    struct rows r = rows_of(t);
    if (t->n_dim < 2)
        r.stride[0] = 0;
    return r;
}

static inline size_t dtype_bytes(uint32_t dtype)
{
    return dtype == BR_F64 || dtype == BR_I64 ? 8 : dtype == BR_F32 || dtype == BR_I32 ? 4 : 2;
}

/* Whether every row begins on n elements and has a multiple of n. */
static inline bool is_aligned(const struct rows *r, unsigned n)
{
    return r->cols % n == 0 && (uintptr_t)r->data % (n * dtype_bytes(r->dtype)) == 0 &&
           r->stride[0] % n == 0 && r->stride[1] % n == 0 && r->stride[2] % n == 0;
}

/* ---- launches -------------------------------------------------------------------------------- */

#define MAX_GRID_Y 65535
#define MAX_GRID_X (1 << 20)

/* Threads for each unit of each row: x runs over the units of a row, y over rows; both go on in
 * steps of the grid where it does not reach. */
struct cover {
    dim3 grid, block;
};

static inline struct cover cover_rows(int64_t count, int64_t units)
{
    unsigned x = 1;
    while (x < 256 && x < units)
        x *= 2;
    struct cover c;
    c.block = dim3(x, 256 / x);
    c.grid = dim3((unsigned)min_of(div_up(units, x), MAX_GRID_X),
                  (unsigned)min_of(div_up(count, 256 / x), MAX_GRID_Y));
    return c;
}

#define FOR_EACH_ROW(r, count)                                                                     \
    for (uint32_t r = blockIdx.y * blockDim.y + threadIdx.y; r < (count);                          \
         r += gridDim.y * blockDim.y)
#define FOR_EACH_UNIT(u, units)                                                                    \
    for (uint32_t u = blockIdx.x * blockDim.x + threadIdx.x; u < (units);                          \
         u += gridDim.x * blockDim.x)

/* Blocks of a team kernel over `count` rows. */
static inline unsigned team_blocks(int64_t count, unsigned warps)
{
    return (unsigned)min_of(div_up(count, TEAM_THREADS / (32 * warps)), MAX_GRID_X);
}
/* Warps that share a row of n elements. */
static inline unsigned team_warps(int64_t n)
{
    return n <= 1024 ? 1 : 8;
}

/* ---- scratch --------------------------------------------------------------------------------- */

/* Parts of the scratch of a call, each on 256 bytes; with scratch NULL it only counts. */
struct carve {
    char *at;
    size_t used;
};
template <class T> static inline T *carve_out(struct carve *s, int64_t n)
{
    T *p = s->at ? (T *)(void *)(s->at + s->used) : nullptr;
    s->used += ((size_t)n * sizeof(T) + 255) & ~(size_t)255;
    return p;
}

/* ---- items of a device's own sizes ----------------------------------------------------------- */

/* Items 0 .. n have units_of(i) units each: which item holds unit number `unit` of all, and which
 * of its own that is; a warp looks.  -1: there are fewer. */
template <class F>
BR_INLINE int64_t warp_find(int64_t n, int64_t unit, const F &units_of, int64_t *own)
{
    int64_t before = 0; /* units of the items before the 32 that are looked at */
    for (int64_t i = 0; i < n; i += 32) {
        const int64_t mine = i + threadIdx.x % 32;
        const int64_t has = mine < n ? units_of(mine) : 0;
        int64_t upto = has;
        for (unsigned d = 1; d < 32; d *= 2) {
            const int64_t left = gpu_shfl_up(upto, d);
            if (threadIdx.x % 32 >= d)
                upto += left;
        }
        const uint32_t who = gpu_ballot(has > 0 && unit < before + upto);
        if (who) {
            const int lane = gpu_ffs(who) - 1;
            *own = unit - before - gpu_shfl(upto - has, lane);
            return i + lane;
        }
        before += gpu_shfl(upto, 31);
    }
    return -1;
}

/* ---- sequences ------------------------------------------------------------------------------- */

/* seqs i32[n, 5] of ops.def. */
struct seqs {
    const int32_t *data;
    int64_t stride;
    int n;
};
struct seq {
    int64_t q0, nq, k0, nk, slot;
};

static inline struct seqs seqs_of(const struct br_tensor *t)
{
    return seqs{(const int32_t *)t->data, t->stride[0], (int)t->shape[0]};
}

/* Sequence i; false if it names rows outside of T queries or S keys, or no query: such an entry
 * owns no rows. */
BR_INLINE bool seq_at(const struct seqs &a, int i, int64_t T, int64_t S, struct seq *s)
{
    const int32_t *v = a.data + i * a.stride;
    *s = seq{v[0], v[1], v[2], v[3], v[4]};
    return s->q0 >= 0 && s->nq > 0 && s->q0 + s->nq <= T && s->k0 >= 0 && s->nk >= s->nq &&
           s->k0 + s->nk <= S;
}

/* The sequence of query row t: the first that owns it; a whole warp looks.  False: none does. */
BR_INLINE bool warp_seq_of(const struct seqs &a, int64_t t, int64_t T, int64_t S, struct seq *s)
{
    for (int i = 0; i < a.n; i += 32) {
        int mine = i + (int)(threadIdx.x % 32);
        struct seq x;
        bool owns = mine < a.n && seq_at(a, mine, T, S, &x) && t >= x.q0 && t < x.q0 + x.nq;
        uint32_t who = gpu_ballot(owns);
        if (who)
            return seq_at(a, i + gpu_ffs(who) - 1, T, S, s);
    }
    return false;
}

/* The same, by one thread. */
BR_INLINE bool seq_of(const struct seqs &a, int64_t t, int64_t T, int64_t S, struct seq *s)
{
    for (int i = 0; i < a.n; i++)
        if (seq_at(a, i, T, S, s) && t >= s->q0 && t < s->q0 + s->nq)
            return true;
    return false;
}

/* Rows of the result of a call whose token no sequence owns become zeros; S as seq_at() has it. */
void br__cuda_zero_unowned(const struct br_call *c, const struct br_tensor *seqs_of_call,
                           int64_t S);

#define ROW_FUNCTION(name) extern "C" void br__cuda_##name(const struct br_call *c)
#define SCRATCH_FUNCTION(name) extern "C" size_t br__cuda_##name##_scratch(const struct br_call *c)

#endif
