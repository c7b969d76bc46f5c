/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* route.cu - routing: the best k experts of a token, slots sorted by expert, and the sums that
 * bring the experts' rows back.
 *
 * Slot t * k + j is the j-th choice of token t.  `order` lists slots in the order of the rows that
 * the grouped products work on; -1 fills the end. */
#include "route.cuh"

/* ---- choosing -------------------------------------------------------------------------------- */

/* A warp has a row, and finds its k best in k turns: each the best of what comes after the last. */
BR_KERNEL(TEAM_THREADS, 1) choose(int32_t *o, int64_t o_stride, struct rows x, int k)
{
    for (uint32_t r = team<1>::first(); r < x.count; r += team<1>::step()) {
        const int64_t at = x.at(r);
        float last = 0;
        int last_at = -1;
        for (int j = 0; j < k; j++) {
            next_best(x, at, &last, &last_at);
            if (team<1>::rank() == 0)
                o[r * o_stride + j] = last_at;
        }
    }
}

ROW_FUNCTION(topk)
{
    struct rows x = rows_of(&c->in[0]), o = rows_of(c->out);
    BR_LAUNCH(c, choose, team_blocks(x.count, 1), TEAM_THREADS, 0, (int32_t *)c->out->data,
              o.stride[0], x, (int)c->attr.i[0]);
}

/* ---- columns that an index names ------------------------------------------------------------- */

BR_KERNEL(256, 1) gather_columns(struct rows o, struct rows x, struct rows index)
{
    FOR_EACH_ROW(r, o.count)
    {
        const int32_t *idx = (const int32_t *)index.data + index.at(r);
        const int64_t at = x.at(r), to = o.at(r);
        FOR_EACH_UNIT(j, o.cols)
        {
            const int32_t e = idx[j];
            o.write(to + j, e >= 0 && e < (int64_t)x.cols ? x.read(at + e) : 0.f);
        }
    }
}

ROW_FUNCTION(gather_cols)
{
    struct rows o = rows_of(c->out);
    struct cover k = cover_rows(o.count, o.cols);
    BR_LAUNCH(c, gather_columns, k.grid, k.block, 0, o, rows_of(&c->in[0]), rows_of(&c->in[1]));
}

/* o[r, e] = the sum of y[r, j] over the j with idx[r, j] = e */
BR_KERNEL(256, 1) scatter_columns(struct rows o, struct rows y, struct rows index)
{
    FOR_EACH_ROW(r, o.count)
    {
        const int32_t *idx = (const int32_t *)index.data + index.at(r);
        const int64_t at = y.at(r), to = o.at(r);
        FOR_EACH_UNIT(e, o.cols)
        {
            float sum = 0;
            for (uint32_t j = 0; j < index.cols; j++)
                if (idx[j] == (int32_t)e)
                    sum += y.read(at + j);
            o.write(to + e, sum);
        }
    }
}

ROW_FUNCTION(scatter_cols)
{
    struct rows o = rows_of(c->out);
    struct cover k = cover_rows(o.count, o.cols);
    BR_LAUNCH(c, scatter_columns, k.grid, k.block, 0, o, rows_of(&c->in[0]), rows_of(&c->in[1]));
}

/* o[e] = how often e is chosen: a block counts for one expert. */
BR_KERNEL(TEAM_THREADS, 1) count_columns(float *o, struct rows index)
{
    const int64_t n = (int64_t)index.count * index.cols;
    int count = 0;
    for (int64_t s = threadIdx.x; s < n; s += TEAM_THREADS) {
        const uint32_t r = (uint32_t)(s / index.cols), j = (uint32_t)(s % index.cols);
        count += ((const int32_t *)index.data)[index.at(r) + j] == (int32_t)blockIdx.x;
    }
    count = team<8>::sum(count);
    if (threadIdx.x == 0)
        o[blockIdx.x] = (float)count;
}

ROW_FUNCTION(count_cols)
{
    BR_LAUNCH(c, count_columns, (unsigned)c->out->shape[0], TEAM_THREADS, 0, (float *)c->out->data,
              rows_of(&c->in[0]));
}

/* ---- sorting by expert: a stable counting sort ----------------------------------------------- */

#define SORT_SLOTS 1024 /* of a block */

struct sorting {
    const int32_t *idx;
    int64_t stride, slots;
    int k, first, n_experts, n_blocks;
    int32_t *offsets, *order;
    int32_t
        *count; /* [n_blocks, n_experts]: slots of a block for an expert, then where they begin */

    /* The local expert of a slot, or -1. */
    BR_INLINE int expert(int64_t s) const
    {
        if (s >= slots)
            return -1;
        const int64_t e = (int64_t)idx[s / k * stride + s % k] - first;
        return e >= 0 && e < n_experts ? (int)e : -1;
    }
};

/* The block's slots of each expert: a thread has every 256th expert, and reads all slots from
 * shared memory. */
BR_KERNEL(256, 1) count_slots(struct sorting a)
{
    BR_SHARED(int32_t, of, SORT_SLOTS);
    const int64_t begin = (int64_t)blockIdx.x * SORT_SLOTS;
    for (int i = (int)threadIdx.x; i < SORT_SLOTS; i += 256)
        of[i] = a.expert(begin + i);
    gpu_sync();
    for (int e = (int)threadIdx.x; e < a.n_experts; e += 256) {
        int n = 0;
        for (int i = 0; i < SORT_SLOTS; i++)
            n += of[i] == e;
        a.count[(int64_t)blockIdx.x * a.n_experts + e] = n;
    }
}

/* One block: counts become beginnings, and their totals the offsets. */
BR_KERNEL(256, 1) begin_slots(struct sorting a)
{
    for (int e = (int)threadIdx.x; e < a.n_experts; e += 256) {
        int32_t sum = 0;
        for (int b = 0; b < a.n_blocks; b++) {
            int32_t *p = &a.count[(int64_t)b * a.n_experts + e];
            const int32_t n = *p;
            *p = sum;
            sum += n;
        }
        a.offsets[e + 1] = sum;
    }
    gpu_sync();
    if (threadIdx.x == 0) {
        a.offsets[0] = 0;
        for (int e = 0; e < a.n_experts; e++)
            a.offsets[e + 1] += a.offsets[e];
    }
}

/* A slot's place is after those of its expert in earlier blocks and before it in its own. */
BR_KERNEL(256, 1) place_slots(struct sorting a)
{
    BR_SHARED(int32_t, of, SORT_SLOTS);
    const int64_t begin = (int64_t)blockIdx.x * SORT_SLOTS;
    for (int i = (int)threadIdx.x; i < SORT_SLOTS; i += 256)
        of[i] = a.expert(begin + i);
    gpu_sync();
    for (int e = (int)threadIdx.x; e < a.n_experts; e += 256) {
        int32_t at = a.offsets[e] + a.count[(int64_t)blockIdx.x * a.n_experts + e];
        for (int i = 0; i < SORT_SLOTS; i++)
            if (of[i] == e)
                a.order[at++] = (int32_t)(begin + i);
    }
    const int32_t sorted = a.offsets[a.n_experts];
    for (int64_t i = begin + threadIdx.x; i < begin + SORT_SLOTS && i < a.slots; i += 256)
        if (i >= sorted)
            a.order[i] = -1;
}

static struct sorting sorting_of(const struct br_call *c)
{
    struct rows idx = rows_of(&c->in[0]);
    struct sorting a;
    a.idx = (const int32_t *)idx.data;
    a.stride = idx.stride[0];
    a.k = (int)idx.cols;
    a.slots = (int64_t)idx.count * idx.cols;
    a.first = (int)c->attr.i[0];
    a.n_experts = (int)c->attr.i[1];
    a.n_blocks = (int)div_up(a.slots, SORT_SLOTS);
    a.offsets = (int32_t *)c->out->data;
    a.order = a.offsets + a.n_experts + 1;
    a.count = (int32_t *)c->scratch;
    return a;
}

SCRATCH_FUNCTION(moe_sort)
{
    struct sorting a = sorting_of(c);
    return (size_t)a.n_blocks * (size_t)a.n_experts * sizeof(int32_t);
}

ROW_FUNCTION(moe_sort)
{
    struct sorting a = sorting_of(c);
    BR_LAUNCH(c, count_slots, (unsigned)a.n_blocks, 256, 0, a);
    BR_LAUNCH(c, begin_slots, 1, 256, 0, a);
    BR_LAUNCH(c, place_slots, (unsigned)a.n_blocks, 256, 0, a);
}

/* ---- rows back ------------------------------------------------------------------------------- */

/* row_of[slot] = the row of `order` that names it, or -1. */
BR_KERNEL(256, 1) no_rows(int32_t *row_of, int64_t slots)
{
    for (int64_t s = blockIdx.x * 256 + threadIdx.x; s < slots; s += (int64_t)gridDim.x * 256)
        row_of[s] = -1;
}
BR_KERNEL(256, 1) find_rows(int32_t *row_of, int64_t slots, const int32_t *order, int64_t n)
{
    for (int64_t r = blockIdx.x * 256 + threadIdx.x; r < n; r += (int64_t)gridDim.x * 256)
        if (order[r] >= 0 && order[r] < slots)
            row_of[order[r]] = (int32_t)r;
}

static int32_t *rows_of_slots(const struct br_call *c, const struct br_tensor *order, int64_t slots)
{
    int32_t *row_of = (int32_t *)c->scratch;
    BR_LAUNCH(c, no_rows, (unsigned)min_of(div_up(slots, 256), MAX_GRID_X), 256, 0, row_of, slots);
    BR_LAUNCH(c, find_rows, (unsigned)min_of(div_up(order->shape[0], 256), MAX_GRID_X), 256, 0,
              row_of, slots, (const int32_t *)order->data, order->shape[0]);
    return row_of;
}

/* o[t] = the sum over j, in their order, of p[t, j] y[row_of[t k + j]]; without p of 1 times that.
 */
template <bool WEIGHTED>
BR_KERNEL(256, 1)
combine_rows(struct rows o, struct rows y, struct rows p, const int32_t *row_of, uint32_t k)
{
    FOR_EACH_ROW(t, o.count)
    {
        const int64_t to = o.at(t), p_at = WEIGHTED ? p.at(t) : 0;
        FOR_EACH_UNIT(i, o.cols)
        {
            float sum = 0;
            for (uint32_t j = 0; j < k; j++) {
                const int32_t r = row_of[(int64_t)t * k + j];
                if (r >= 0 && (uint32_t)r < y.count)
                    sum =
                        fmaf(WEIGHTED ? p.read(p_at + j) : 1.f, y.read(y.at((uint32_t)r) + i), sum);
            }
            o.write(to + i, sum);
        }
    }
}

SCRATCH_FUNCTION(moe_gather_grad)
{
    return (size_t)(c->attr.i[0] * c->attr.i[1]) * sizeof(int32_t);
}
ROW_FUNCTION(moe_gather_grad)
{
    struct rows o = rows_of(c->out), y = rows_of(&c->in[0]);
    const uint32_t n = (uint32_t)c->attr.i[0];
    const int32_t *row_of = rows_of_slots(c, &c->in[1], (int64_t)o.count * n);
    struct cover k = cover_rows(o.count, o.cols);
    BR_LAUNCH(c, combine_rows<false>, k.grid, k.block, 0, o, y, y, row_of, n);
}

SCRATCH_FUNCTION(moe_combine)
{
    struct rows p = rows_of(&c->in[1]);
    return (size_t)p.count * p.cols * sizeof(int32_t);
}
ROW_FUNCTION(moe_combine)
{
    struct rows o = rows_of(c->out), p = rows_of(&c->in[1]);
    const int32_t *row_of = rows_of_slots(c, &c->in[2], (int64_t)p.count * p.cols);
    struct cover k = cover_rows(o.count, o.cols);
    BR_LAUNCH(c, combine_rows<true>, k.grid, k.block, 0, o, rows_of(&c->in[0]), p, row_of, p.cols);
}

/* o[r] = p[t, j] z[t] with order[r] = t k + j */
BR_KERNEL(256, 1)
spread_rows(struct rows o, struct rows z, struct rows p, const int32_t *order)
{
    FOR_EACH_ROW(r, o.count)
    {
        const int64_t slot = order[r], slots = (int64_t)p.count * p.cols, to = o.at(r);
        const bool there = slot >= 0 && slot < slots;
        const uint32_t t = there ? (uint32_t)(slot / p.cols) : 0;
        const float by = there ? p.read(p.at(t) + slot % p.cols) : 0.f;
        const int64_t at = z.at(t);
        FOR_EACH_UNIT(i, o.cols)
        {
            o.write(to + i, there ? z.read(at + i) * by : 0.f);
        }
    }
}

ROW_FUNCTION(moe_combine_dy)
{
    struct rows o = rows_of(c->out);
    struct cover k = cover_rows(o.count, o.cols);
    BR_LAUNCH(c, spread_rows, k.grid, k.block, 0, o, rows_of(&c->in[0]), rows_of(&c->in[1]),
              (const int32_t *)c->in[2].data);
}

/* o[t, j] = z[t] . y[row_of[t k + j]]: a warp to a slot. */
BR_KERNEL(TEAM_THREADS, 1)
dot_slots(struct rows o, struct rows z, struct rows y, const int32_t *row_of)
{
    const uint32_t slots = o.count * o.cols;
    for (uint32_t s = team<1>::first(); s < slots; s += team<1>::step()) {
        const int32_t r = row_of[s];
        const uint32_t t = s / o.cols;
        float sum = 0;
        if (r >= 0 && (uint32_t)r < y.count) {
            const int64_t a = z.at(t), b = y.at((uint32_t)r);
            for (uint32_t i = team<1>::rank(); i < z.cols; i += 32)
                sum = fmaf(z.read(a + i), y.read(b + i), sum);
        }
        sum = team<1>::sum(sum);
        if (team<1>::rank() == 0)
            o.write(o.at(t) + s % o.cols, sum);
    }
}

SCRATCH_FUNCTION(moe_combine_dp)
{
    struct rows o = rows_of(c->out);
    return (size_t)o.count * o.cols * sizeof(int32_t);
}
ROW_FUNCTION(moe_combine_dp)
{
    struct rows o = rows_of(c->out);
    const int64_t slots = (int64_t)o.count * o.cols;
    const int32_t *row_of = rows_of_slots(c, &c->in[2], slots);
    BR_LAUNCH(c, dot_slots, team_blocks(slots, 1), TEAM_THREADS, 0, o, rows_of(&c->in[0]),
              rows_of(&c->in[1]), row_of);
}
