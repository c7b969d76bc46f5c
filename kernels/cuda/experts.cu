/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* experts.cu - routed experts of few tokens: ROUTE_SHARE and ROUTE_SORT from the logits of the
 * router, EXPERTS_UP and EXPERTS_DOWN around the activation.
 *
 * A token meets an expert once, so an expert has at most as many rows as there are tokens.  A block
 * has one of the experts that have rows; which one that is only the device knows. */
#include "few.cuh"
#include "route.cuh"

#define THREADS (32 * FEW_WARPS)

/* ---- routing --------------------------------------------------------------------------------- */

/* A warp has a token.  Sums are made in the order of SOFTMAX. */
BR_KERNEL(THREADS, 1)
share_experts(float *o, int64_t o_stride, struct rows logits, int k, bool is_of_all)
{
    BR_SHARED(float, room, FEW_WARPS *BR_FEW_SLOTS);
    const int lane = (int)threadIdx.x % 32, t = (int)threadIdx.x / 32;
    float *chosen = room + t * BR_FEW_SLOTS;
    gpu_launch_next();
    gpu_wait_previous();
    if (t >= (int)logits.count) /* the whole warp */
        return;
    const int64_t at = logits.at((uint32_t)t);
    float most = -INFINITY, sum = 0, last = 0;
    int last_at = -1;
    for (int j = 0; j < k; j++) {
        next_best(logits, at, &last, &last_at);
        if (lane == 0)
            chosen[j] = last;
    }
    gpu_sync_warp();
    const int n = is_of_all ? (int)logits.cols : k;
    for (int i = lane; i < n; i += 32)
        most = fmaxf(most, is_of_all ? logits.read(at + i) : chosen[i]);
    most = warp_max(most);
    for (int i = lane; i < n; i += 32)
        sum += expf((is_of_all ? logits.read(at + i) : chosen[i]) - most);
    const float by = 1.f / warp_sum(sum);
    for (int j = lane; j < k; j += 32)
        o[t * o_stride + j] = expf(chosen[j] - most) * by;
}

ROW_FUNCTION(route_share)
{
    BR_LAUNCH_EARLY(c, share_experts, 1, THREADS, 0, (float *)c->out->data, c->out->stride[0],
                    rows_of(&c->in[0]), (int)c->attr.i[0], c->attr.i[1] != 0);
}

/* One block: a warp chooses for a token; then a thread has an offset, or a slot. */
BR_KERNEL(THREADS, 1)
sort_choices(int32_t *offsets, struct rows logits, int k, int first, int n_experts)
{
    BR_SHARED(int32_t, of, BR_FEW_SLOTS); /* local expert of a slot, or -1 */
    const int t = (int)threadIdx.x / 32, slots = (int)logits.count * k;
    int32_t *order = offsets + n_experts + 1;
    gpu_launch_next();
    gpu_wait_previous();
    float last = 0;
    int last_at = -1;
    for (int j = 0; j < k && t < (int)logits.count; j++) {
        next_best(logits, logits.at((uint32_t)t), &last, &last_at);
        const int e = last_at - first;
        if (threadIdx.x % 32 == 0)
            of[t * k + j] = e >= 0 && e < n_experts ? e : -1;
    }
    gpu_sync();
    for (int e = (int)threadIdx.x; e <= n_experts; e += THREADS) {
        int before = 0;
        for (int i = 0; i < slots; i++)
            before += of[i] >= 0 && of[i] < e;
        offsets[e] = before;
    }
    if ((int)threadIdx.x >= slots)
        return;
    const int slot = (int)threadIdx.x, mine = of[slot];
    int place = 0, local = 0;
    for (int i = 0; i < slots; i++) {
        local += of[i] >= 0;
        place += (of[i] >= 0 && of[i] < mine) || (of[i] == mine && i < slot);
    }
    if (mine >= 0)
        order[place] = slot;
    if (slot >= local)
        order[slot] = -1;
}

ROW_FUNCTION(route_sort)
{
    BR_LAUNCH_EARLY(c, sort_choices, 1, THREADS, 0, (int32_t *)c->out->data, rows_of(&c->in[0]),
                    (int)c->attr.i[0], (int)c->attr.i[1], (int)c->attr.i[2]);
}

/* ---- up -------------------------------------------------------------------------------------- */

struct up {
    product p; /* of all rows of x by the weights of an expert */
    struct few_normed x;
    const int32_t *order;
    int64_t rows; /* R */
    int k;
    bool has_norm;
};

/* Row i of an expert is a row of x. */
struct of_token {
    const int32_t *order;
    int k;
    int64_t T;
    BR_INLINE int64_t operator()(int i) const
    {
        return min_of(max_of(order[i] / k, 0), T - 1);
    }
};

/* Columns of rows [from, from + m) of an expert, of which p is. */
BR_INLINE void write_up(const struct up &a, const product &p, int64_t from, int64_t j, bool is_wide)
{
    const struct of_token token = {a.order + from, a.k, a.x.x.count};
    float gate[BR_FEW_ROWS], up[BR_FEW_ROWS];
    column_sums<BR_FEW_ROWS>(gate, p, j, is_wide, token);
    column_sums<BR_FEW_ROWS>(up, p, p.n + j, is_wide, token);
    for (int i = 0; i < BR_FEW_ROWS; i++) {
        const float g = as_kept(warp_sum(gate[i]), p.out_dtype);
        const float u = as_kept(warp_sum(up[i]), p.out_dtype);
        if (threadIdx.x % 32 == 0 && i < p.m)
            write_f32(p.out, p.out_dtype, (from + i) * p.ldo + j, (g * sigmoid_of(g)) * u);
    }
}

/* Grid: columns by experts that have rows. */
BR_KERNEL(THREADS, 2) experts_up(struct up a, bool is_wide)
{
    BR_DYN_SHARED(unsigned char, shared);
    product p = a.p;
    gpu_launch_next();
    gpu_wait_previous();
    int64_t own; /* 0: no expert has more than one tile of rows */
    const int64_t e = expert_of_tile(p, blockIdx.y, &own);
    const int64_t j = (int64_t)blockIdx.x * FEW_WARPS + threadIdx.x / 32;
    const int64_t end = offset_at(p, p.n_experts, a.rows);
    for (int64_t r = end; blockIdx.y == 0 && r < a.rows; r++) /* rows of no expert */
        if (threadIdx.x % 32 == 0 && j < p.n)
            write_f32(p.out, p.out_dtype, r * p.ldo + j, 0.f);
    if (e < 0) /* the whole block */
        return;
    if (a.has_norm)
        p.a = norm_rows(a.x, shared);
    const int64_t from = offset_at(p, e, a.rows), to = offset_at(p, e + 1, a.rows);
    p.b.data = shifted_by(p.b.data, p.b.dtype, e * p.b_stride);
    for (int64_t r = from; r < to; r += BR_FEW_ROWS) {
        p.m = min_of(BR_FEW_ROWS, to - r);
        if (j < p.n)
            write_up(a, p, r, j, is_wide);
    }
}

static mat mat_of(const struct br_tensor *t)
{
    return mat{t->data, t->dtype, 0, t->stride[t->n_dim - 2]};
}

/* Of x or y by w, with the offsets that are first in `sorted`. */
static product product_of(const struct br_call *c)
{
    const struct br_tensor *w = &c->in[1];
    product p = {};
    p.a = mat_of(&c->in[0]);
    p.b = mat_of(w);
    p.b_stride = w->stride[0];
    p.n_experts = w->shape[0];
    p.offsets = (const int32_t *)c->in[2].data;
    p.out = c->out->data;
    p.out_dtype = c->out->dtype;
    p.ldo = c->out->stride[0];
    p.m = c->out->shape[0];
    p.n = c->out->shape[1];
    p.k = c->in[0].shape[1];
    return p;
}

static bool is_wide_of(const product *p)
{
    return is_wide_product(p) && p->b_stride % 8 == 0;
}

ROW_FUNCTION(experts_up)
{
    struct up a = {};
    a.p = product_of(c);
    a.x.x = rows_of(&c->in[0]);
    a.order = a.p.offsets + a.p.n_experts + 1;
    a.rows = c->out->shape[0];
    a.k = (int)c->attr.i[2];
    a.has_norm = c->attr.i[1] & BR_LINEAR_NORM;
    if (a.has_norm)
        a.x = few_normed_of(c, &c->in[3]);
    const dim3 grid((unsigned)div_up(a.p.n, FEW_WARPS), (unsigned)min_of(a.rows, a.p.n_experts));
    BR_LAUNCH_EARLY(c, experts_up, grid, THREADS, a.has_norm ? few_normed_bytes(&a.x) : 0, a,
                    is_wide_of(&a.p));
}

/* ---- down ------------------------------------------------------------------------------------ */

struct down {
    product p;
    struct rows shares;   /* [T, k] */
    const int32_t *order; /* [rows] */
    int64_t rows;
    int k;
    struct rows residual;
    bool has_residual;
};

/* Which row a slot has, and the expert of a row; -1: none. */
BR_INLINE void find_rows(const struct down &a, int32_t *row_of, int32_t *expert_of)
{
    const int64_t n = offset_at(a.p, a.p.n_experts, a.rows);
    for (int i = (int)threadIdx.x; i < BR_FEW_SLOTS; i += THREADS)
        row_of[i] = expert_of[i] = -1;
    gpu_sync();
    if (threadIdx.x < n) {
        const int32_t slot = a.order[threadIdx.x];
        if (slot >= 0 && slot < a.rows)
            row_of[slot] = (int32_t)threadIdx.x;
    }
    for (int64_t e = threadIdx.x; e < a.p.n_experts; e += THREADS)
        for (int64_t r = offset_at(a.p, e, a.rows); r < offset_at(a.p, e + 1, a.rows); r++)
            expert_of[r] = (int32_t)e;
    gpu_sync();
}

/* A warp has a column, and goes over the choices of each token in their order. */
BR_KERNEL(THREADS, 2) experts_down(struct down a, bool is_wide)
{
    BR_SHARED(int32_t, row_of, BR_FEW_SLOTS);
    BR_SHARED(int32_t, expert_of, BR_FEW_SLOTS);
    gpu_launch_next();
    gpu_wait_previous();
    find_rows(a, row_of, expert_of);
    product p = a.p;
    const int64_t j = (int64_t)blockIdx.x * FEW_WARPS + threadIdx.x / 32;
    if (j >= p.n) /* the whole warp */
        return;
    for (uint32_t t = 0; t < a.shares.count; t++) {
        float sum = 0;
        for (int i = 0; i < a.k; i++) {
            const int32_t r = row_of[(int)t * a.k + i];
            float dot[1];
            if (r < 0)
                continue;
            p.a.data = shifted_by(a.p.a.data, p.a.dtype, r * p.a.ld);
            p.b.data = shifted_by(a.p.b.data, p.b.dtype, expert_of[r] * p.b_stride);
            p.m = 1;
            column_sums<1>(dot, p, j, is_wide, in_order{});
            sum = fmaf(a.shares.read(a.shares.at(t) + i), as_kept(warp_sum(dot[0]), p.out_dtype),
                       sum);
        }
        sum = as_kept(sum, p.out_dtype);
        if (a.has_residual)
            sum += a.residual.read(a.residual.at(t) + j);
        if (threadIdx.x % 32 == 0)
            write_f32(p.out, p.out_dtype, t * p.ldo + j, sum);
    }
}

ROW_FUNCTION(experts_down)
{
    struct down a = {};
    a.p = product_of(c);
    a.shares = rows_of(&c->in[3]);
    a.order = a.p.offsets + a.p.n_experts + 1;
    a.rows = c->in[0].shape[0];
    a.k = (int)a.shares.cols;
    a.has_residual = c->n_in > 4;
    if (a.has_residual)
        a.residual = rows_of(&c->in[4]);
    BR_LAUNCH_EARLY(c, experts_down, (unsigned)div_up(a.p.n, FEW_WARPS), THREADS, 0, a,
                    is_wide_of(&a.p));
}
