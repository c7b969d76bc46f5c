/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* attention_any.cu - causal attention of grouped heads over sequences, of any head size up to 512
 * and any mix of float32 and bfloat16, and its gradient.
 *
 * A warp has one query and one head.  Online softmax (Milakov and Gimelshein 2018) over blocks of
 * 32 keys: each lane takes the scalar product with a key of its own, and then a share of the
 * channels of the values.  Where there are few queries, warps share out the keys of a query, and a
 * second launch puts their parts together.
 *
 * Gradient, with O and the logarithms of the sums of the forward pass:
 *     P = exp(scale q k' - log sum),  dS = P (dO v' - dO . O) scale,
 *     dQ = dS K (a warp has a query),  dK = dS' Q and dV = P' dO (a warp has a key).
 * No two warps add to the same numbers. */
#include "attention.cuh"

#define WARPS 8        /* of a block */
#define MAX_HEAD 512   /* channels */
#define MAX_PARTS 64   /* of the keys of a query */
#define FEW_WARPS 2048 /* below so many, keys are shared out */

static struct attention attention_of(const struct br_call *c)
{
    struct attention a;
    a.q = rows_of(&c->in[0]);
    a.k = rows_of(&c->in[1]);
    a.v = rows_of(&c->in[2]);
    a.seqs = seqs_of(&c->in[3]);
    a.T = (int)c->in[0].shape[0];
    a.S = (int)c->in[1].shape[0];
    a.heads = (int)c->in[0].shape[1];
    a.group = a.heads / (int)c->in[1].shape[1];
    a.d = (int)c->in[0].shape[2];
    a.window = c->attr.i[0];
    a.scale = (float)c->attr.f[0];
    a.is_wide = is_aligned(&a.k, 8) && is_aligned(&a.v, 8);
    a.parts = 1;
    while (a.parts < MAX_PARTS && (int64_t)a.T * a.heads * a.parts < FEW_WARPS &&
           a.parts * 128 < a.S)
        a.parts *= 2;
    return a;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* A row of d elements into shared memory, by the lanes of a warp. */
BR_INLINE void share_row(float *to, const struct rows &x, int64_t at, int d, float by)
{
    for (int i = (int)(threadIdx.x % 32); i < d; i += 32)
        to[i] = x.read(at + i) * by;
}

/* shared[d] . a row, by one lane. */
BR_INLINE float dot_row(const float *shared, const struct rows &x, int64_t at, int d, bool is_wide)
{
    float sum = 0;
    if (!is_wide) {
        for (int i = 0; i < d; i++)
            sum = fmaf(shared[i], x.read(at + i), sum);
        return sum;
    }
    for (int i = 0; i < d; i += 8) {
        float v[8];
        read_many<8>(v, x.data, x.dtype, at + i);
        for (int j = 0; j < 8; j++)
            sum = fmaf(shared[i + j], v[j], sum);
    }
    return sum;
}

/* sum[n] += by * a row; lane l has channels l, l + 32, ... */
template <int N>
BR_INLINE void add_row(float *sum, const struct rows &x, int64_t at, int d, float by)
{
    for (int i = 0; i < N; i++) {
        const int ch = (int)(threadIdx.x % 32) + 32 * i;
        if (ch < d)
            sum[i] = fmaf(by, x.read(at + ch), sum[i]);
    }
}

template <int N>
BR_INLINE void store_row(const struct rows &x, int64_t at, int d, const float *v, float by)
{
    for (int i = 0; i < N; i++) {
        const int ch = (int)(threadIdx.x % 32) + 32 * i;
        if (ch < d)
            x.write(at + ch, v[i] * by);
    }
}

/* ---- forward --------------------------------------------------------------------------------- */

/* What a warp found: the largest score, the sum of the weights, the weighted values. */
struct partial {
    float max, sum;
};

/* Where parts of a query's keys lie: [T, heads, parts] of each. */
struct partials {
    struct partial *of;
    float *o; /* [.., d] */
};

/* Keys [from, to) of a sequence for one query and head. */
template <int N>
BR_INLINE struct partial attend(const struct attention &a, const float *q, const struct seq &s,
                                int head, int64_t from, int64_t to, float *o)
{
    struct partial p = {-INFINITY, 0};
    for (int64_t k = from; k < to; k += 32) {
        const int n = (int)min_of(to - k, 32), lane = (int)(threadIdx.x % 32);
        float score = -INFINITY;
        if (lane < n)
            score = dot_row(q, a.k, a.key_at(a.k, s.k0 + k + lane, head), a.d, a.is_wide);
        const float most = fmaxf(p.max, warp_max(score)), fade = expf(p.max - most);
        const float weight = lane < n ? expf(score - most) : 0.f;
        p.sum = fmaf(p.sum, fade, warp_sum(weight));
        p.max = most;
        for (int i = 0; i < N; i++)
            o[i] *= fade;
        for (int j = 0; j < n; j++)
            add_row<N>(o, a.v, a.key_at(a.v, s.k0 + k + j, head), a.d, gpu_shfl(weight, j));
    }
    return p;
}

/* Warps in the order (query, head, part).  log_sum: [T, heads], or not asked for. */
template <int N>
BR_KERNEL(32 * WARPS, 1)
attend_rows(struct rows out, struct attention a, struct partials parts, float *log_sum,
            int64_t log_stride)
{
    BR_DYN_SHARED(float, shared);
    float *q = shared + (threadIdx.x / 32) * a.d;
    const int64_t warps = (int64_t)a.T * a.heads * a.parts;
    gpu_launch_next();
    gpu_wait_previous();
    for (int64_t w = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32; w < warps;
         w += (int64_t)gridDim.x * WARPS) {
        const int part = (int)(w % a.parts), head = (int)(w / a.parts % a.heads);
        const int64_t t = w / a.parts / a.heads, to = a.query_at(out, t, head);
        struct seq s;
        float o[N];
        for (int i = 0; i < N; i++)
            o[i] = 0;
        if (!warp_seq_of(a.seqs, t, a.T, a.S, &s)) {
            if (part == 0)
                store_row<N>(out, to, a.d, o, 0.f);
            continue;
        }
        gpu_sync_warp(); /* lanes may still read the row before */
        share_row(q, a.q, a.query_at(a.q, t, head), a.d, a.scale);
        gpu_sync_warp();
        const int64_t own = s.nk - s.nq + t - s.q0, from = first_key(a, own);
        const int64_t each = div_up(div_up(own + 1 - from, a.parts), 32) * 32;
        const int64_t begin = from + part * each, end = min_of(begin + each, own + 1);
        const struct partial p = attend<N>(a, q, s, head / a.group, begin, end, o);
        if (a.parts > 1) {
            for (int i = 0; i < N; i++)
                if ((int)(threadIdx.x % 32) + 32 * i < a.d)
                    parts.o[w * a.d + threadIdx.x % 32 + 32 * i] = o[i];
            if (threadIdx.x % 32 == 0)
                parts.of[w] = p;
            continue;
        }
        store_row<N>(out, to, a.d, o, 1.f / p.sum);
        if (log_sum && threadIdx.x % 32 == 0)
            log_sum[t * log_stride + head] = p.max + logf(p.sum);
    }
}

/* Parts of a query and head put together, by a warp; a part without keys has weight 0. */
template <int N>
BR_KERNEL(32 * WARPS, 1)
merge_parts(struct rows out, struct attention a, struct partials parts, float *log_sum,
            int64_t log_stride)
{
    const int64_t rows = (int64_t)a.T * a.heads;
    gpu_launch_next();
    gpu_wait_previous();
    for (int64_t r = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32; r < rows;
         r += (int64_t)gridDim.x * WARPS) {
        const int64_t t = r / a.heads;
        const int head = (int)(r % a.heads);
        struct seq s;
        if (!warp_seq_of(a.seqs, t, a.T, a.S, &s))
            continue; /* zeros are there */
        float most = -INFINITY, sum = 0, o[N];
        for (int i = 0; i < N; i++)
            o[i] = 0;
        for (int p = 0; p < a.parts; p++)
            most = fmaxf(most, parts.of[r * a.parts + p].max);
        for (int p = 0; p < a.parts; p++) {
            const int64_t w = r * a.parts + p;
            if (!(parts.of[w].sum != 0))
                continue; /* no keys */
            const float fade = expf(parts.of[w].max - most);
            sum = fmaf(parts.of[w].sum, fade, sum);
            for (int i = 0; i < N; i++)
                if ((int)(threadIdx.x % 32) + 32 * i < a.d)
                    o[i] = fmaf(fade, parts.o[w * a.d + threadIdx.x % 32 + 32 * i], o[i]);
        }
        store_row<N>(out, a.query_at(out, t, head), a.d, o, 1.f / sum);
        if (log_sum && threadIdx.x % 32 == 0)
            log_sum[t * log_stride + head] = most + logf(sum);
    }
}

static struct partials partials_of(const struct attention *a, struct carve *s)
{
    const int64_t n = a->parts > 1 ? (int64_t)a->T * a->heads * a->parts : 0;
    struct partials p;
    p.of = carve_out<struct partial>(s, n);
    p.o = carve_out<float>(s, n * a->d);
    return p;
}

/* Launch `kernel<N>` by BR_LAUNCH or BR_LAUNCH_EARLY, N channels of 32 to a lane. */
#define LAUNCH_HEADS(launch, c, kernel, d, warps, dyn, ...)                                        \
    do {                                                                                           \
        const unsigned blocks = (unsigned)min_of(div_up(warps, WARPS), MAX_GRID_X);                \
        if ((d) <= 32)                                                                             \
            launch(c, kernel<1>, blocks, 32 * WARPS, dyn, __VA_ARGS__);                            \
        else if ((d) <= 64)                                                                        \
            launch(c, kernel<2>, blocks, 32 * WARPS, dyn, __VA_ARGS__);                            \
        else if ((d) <= 128)                                                                       \
            launch(c, kernel<4>, blocks, 32 * WARPS, dyn, __VA_ARGS__);                            \
        else if ((d) <= 256)                                                                       \
            launch(c, kernel<8>, blocks, 32 * WARPS, dyn, __VA_ARGS__);                            \
        else                                                                                       \
            launch(c, kernel<16>, blocks, 32 * WARPS, dyn, __VA_ARGS__);                           \
    } while (0)

static bool head_fits(const struct br_call *c, int d)
{
    if (d > MAX_HEAD)
        br__cuda_refuse(c, "a head has %d channels; at most %d are possible", d, MAX_HEAD);
    return d <= MAX_HEAD;
}

static void attend_all(const struct br_call *c, const struct attention *a, struct rows out,
                       struct partials parts, float *log_sum, int64_t log_stride)
{
    const size_t shared = (size_t)WARPS * a->d * sizeof(float);
    const int64_t rows = (int64_t)a->T * a->heads;
    if (br__cuda_suits_tiles(a)) {
        br__cuda_attend_tiles(c, a, out, log_sum, log_stride);
        return;
    }
    LAUNCH_HEADS(BR_LAUNCH_EARLY, c, attend_rows, a->d, rows * a->parts, shared, out, *a, parts,
                 log_sum, log_stride);
    if (a->parts > 1)
        LAUNCH_HEADS(BR_LAUNCH_EARLY, c, merge_parts, a->d, rows, 0, out, *a, parts, log_sum,
                     log_stride);
}

SCRATCH_FUNCTION(attention)
{
    struct attention a = attention_of(c);
    struct carve s = {nullptr, 0};
    partials_of(&a, &s);
    return s.used;
}

ROW_FUNCTION(attention)
{
    struct attention a = attention_of(c);
    struct carve s = {(char *)c->scratch, 0};
    struct partials parts = partials_of(&a, &s);
    if (head_fits(c, a.d))
        attend_all(c, &a, rows_of(c->out), parts, c->n_in > 4 ? (float *)c->in[4].data : nullptr,
                   c->n_in > 4 ? c->in[4].stride[0] : 0);
}

/* ---- gradient -------------------------------------------------------------------------------- */

/* A warp to a query and head. */
BR_KERNEL(32 * WARPS, 1) dot_outputs(struct back b)
{
    const struct attention &a = b.a;
    const int64_t rows = (int64_t)a.T * a.heads;
    for (int64_t r = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32; r < rows;
         r += (int64_t)gridDim.x * WARPS) {
        const int64_t y = b.y.at((uint32_t)r), o = b.o.at((uint32_t)r);
        float sum = 0;
        for (int i = (int)(threadIdx.x % 32); i < a.d; i += 32)
            sum = fmaf(b.y.read(y + i), b.o.read(o + i), sum);
        sum = warp_sum(sum);
        if (threadIdx.x % 32 == 0)
            b.along[r] = sum;
    }
}

/* dQ: a warp to a query and head; shared: its q (scaled) and y. */
template <int N> BR_KERNEL(32 * WARPS, 1) grad_queries(struct back b)
{
    BR_DYN_SHARED(float, shared);
    const struct attention &a = b.a;
    float *q = shared + (threadIdx.x / 32) * 2 * a.d, *y = q + a.d;
    const int64_t rows = (int64_t)a.T * a.heads;
    for (int64_t r = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32; r < rows;
         r += (int64_t)gridDim.x * WARPS) {
        const int64_t t = r / a.heads;
        const int head = (int)(r % a.heads), lane = (int)(threadIdx.x % 32);
        struct seq s;
        float dq[N];
        for (int i = 0; i < N; i++)
            dq[i] = 0;
        if (!warp_seq_of(a.seqs, t, a.T, a.S, &s)) {
            store_row<N>(b.out, b.out_at(t, head), a.d, dq, 0.f);
            continue;
        }
        gpu_sync_warp();
        share_row(q, a.q, a.query_at(a.q, t, head), a.d, a.scale);
        share_row(y, b.y, b.y.at((uint32_t)r), a.d, 1.f);
        gpu_sync_warp();
        const int64_t own = s.nk - s.nq + t - s.q0;
        const float log_sum = b.log_sum[t * b.log_stride + head], along = b.along[r];
        for (int64_t k = first_key(a, own); k <= own; k += 32) {
            const int n = (int)min_of(own + 1 - k, 32);
            float ds = 0;
            if (lane < n) {
                const int64_t row = s.k0 + k + lane;
                const int key = head / a.group;
                const float score = dot_row(q, a.k, a.key_at(a.k, row, key), a.d, a.is_wide);
                const float dp = dot_row(y, a.v, a.key_at(a.v, row, key), a.d, a.is_wide);
                ds = expf(score - log_sum) * (dp - along) * a.scale;
            }
            for (int j = 0; j < n; j++)
                add_row<N>(dq, a.k, a.key_at(a.k, s.k0 + k + j, head / a.group), a.d,
                           gpu_shfl(ds, j));
        }
        store_row<N>(b.out, b.out_at(t, head), a.d, dq, 1.f);
    }
}

/* The sequence that key row r belongs to: the first; a whole warp looks. */
BR_INLINE bool warp_seq_of_key(const struct seqs &a, int64_t r, int64_t T, int64_t S, struct seq *s)
{
    for (int i = 0; i < a.n; i += 32) {
        const int mine = i + (int)(threadIdx.x % 32);
        struct seq x;
        const bool owns = mine < a.n && seq_at(a, mine, T, S, &x) && r >= x.k0 && r < x.k0 + x.nk;
        const uint32_t who = gpu_ballot(owns);
        if (who)
            return seq_at(a, i + gpu_ffs(who) - 1, T, S, s);
    }
    return false;
}

/* dK and dV: a warp to a key and key head; shared: its k (scaled) and v.  Heads of the group one
 * after the other, queries in their order. */
template <int N> BR_KERNEL(32 * WARPS, 1) grad_keys(struct back b)
{
    BR_DYN_SHARED(float, shared);
    const struct attention &a = b.a;
    float *k = shared + (threadIdx.x / 32) * 2 * a.d, *v = k + a.d;
    const int kv_heads = a.heads / a.group, lane = (int)(threadIdx.x % 32);
    const int64_t rows = (int64_t)a.S * kv_heads;
    for (int64_t r = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32; r < rows;
         r += (int64_t)gridDim.x * WARPS) {
        const int64_t row = r / kv_heads;
        const int key = (int)(r % kv_heads);
        struct seq s;
        float dk[N], dv[N];
        for (int i = 0; i < N; i++)
            dk[i] = dv[i] = 0;
        const bool owned = warp_seq_of_key(a.seqs, row, a.T, a.S, &s);
        gpu_sync_warp();
        share_row(k, a.k, a.key_at(a.k, row, key), a.d, a.scale);
        share_row(v, a.v, a.key_at(a.v, row, key), a.d, 1.f);
        gpu_sync_warp();
        /* positions of the queries that see it */
        const int64_t at = owned ? row - s.k0 : 0, first_query = owned ? s.nk - s.nq : 0;
        const int64_t from = max_of(at, first_query);
        const int64_t to = !owned ? from : a.window > 0 ? min_of(at + a.window, s.nk) : s.nk;
        for (int head = key * a.group; head < (key + 1) * a.group; head++)
            for (int64_t own = from; own < to; own += 32) {
                const int n = (int)min_of(to - own, 32);
                const int64_t first = s.q0 + own - first_query, t = first + lane;
                float p = 0, ds = 0;
                if (lane < n) {
                    const float score =
                        dot_row(k, a.q, a.query_at(a.q, t, head), a.d, b.is_wide_qy);
                    const float dp = dot_row(v, b.y, a.query_at(b.y, t, head), a.d, b.is_wide_qy);
                    p = expf(score - b.log_sum[t * b.log_stride + head]);
                    ds = p * (dp - b.along[t * a.heads + head]) * a.scale;
                }
                for (int j = 0; j < n; j++) {
                    add_row<N>(dk, a.q, a.query_at(a.q, first + j, head), a.d, gpu_shfl(ds, j));
                    add_row<N>(dv, b.y, a.query_at(b.y, first + j, head), a.d, gpu_shfl(p, j));
                }
            }
        store_row<N>(b.out, b.out_at(row, a.heads + key), a.d, dk, 1.f);
        store_row<N>(b.out, b.out_at(row, a.heads + kv_heads + key), a.d, dv, 1.f);
    }
}

/* The forward pass is made anew where it was not brought. */
struct back_scratch {
    float *along, *o, *log_sum;
    struct partials parts;
    size_t bytes;
};

static struct back_scratch back_carve(const struct br_call *c, const struct attention *a,
                                      void *scratch)
{
    const int64_t rows = (int64_t)a->T * a->heads;
    struct carve s = {(char *)scratch, 0};
    struct back_scratch b;
    b.along = carve_out<float>(&s, rows);
    b.o = carve_out<float>(&s, c->n_in > 6 ? 0 : rows * a->d);
    b.log_sum = carve_out<float>(&s, c->n_in > 6 ? 0 : rows);
    b.parts = partials_of(a, &s);
    b.bytes = s.used;
    return b;
}

SCRATCH_FUNCTION(attention_grad)
{
    struct attention a = attention_of(c);
    return back_carve(c, &a, nullptr).bytes;
}

static struct rows contiguous_heads(float *data, const struct attention *a)
{
    struct rows r = {data, {a->d, 0, 0}, {(uint32_t)(a->T * a->heads), 1, 1}, 0, 0, BR_F32};
    r.count = r.n[0];
    r.cols = (uint32_t)a->d;
    return r;
}

ROW_FUNCTION(attention_grad)
{
    struct back b;
    b.a = attention_of(c);
    struct back_scratch s = back_carve(c, &b.a, c->scratch);
    if (!head_fits(c, b.a.d))
        return;
    b.y = rows_of(&c->in[4]);
    b.out = rows_of(c->out);
    b.along = s.along;
    b.is_wide_qy = is_aligned(&b.a.q, 8) && is_aligned(&b.y, 8);
    if (c->n_in > 6) {
        b.o = rows_of(&c->in[5]);
        b.log_sum = (const float *)c->in[6].data;
        b.log_stride = c->in[6].stride[0];
    } else {
        b.o = contiguous_heads(s.o, &b.a);
        b.log_sum = s.log_sum;
        b.log_stride = b.a.heads;
        attend_all(c, &b.a, b.o, s.parts, s.log_sum, b.a.heads);
    }
    const int64_t rows = (int64_t)b.a.T * b.a.heads;
    const size_t shared = (size_t)WARPS * 2 * b.a.d * sizeof(float);
    BR_LAUNCH(c, dot_outputs, (unsigned)min_of(div_up(rows, WARPS), MAX_GRID_X), 32 * WARPS, 0, b);
    if (br__cuda_back_suits_tiles(&b)) {
        br__cuda_back_tiles(c, &b);
        return;
    }
    LAUNCH_HEADS(BR_LAUNCH, c, grad_queries, b.a.d, rows, shared, b);
    LAUNCH_HEADS(BR_LAUNCH, c, grad_keys, b.a.d, (int64_t)b.a.S * (b.a.heads / b.a.group), shared,
                 b);
}
