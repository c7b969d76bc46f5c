/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* owner.cu - rows added to rows that an index names: the gradients of EMBED and GATHER_ROWS.
 *
 * Rows with the same index are added in their order, so that the same input gives the same bits:
 * the first row of an index owns it, and goes through all that follow it; the others leave. */
#include "host.cuh"

/* Whether row t is the first of its index; a block of 256 threads looks. */
BR_INLINE bool is_owner(const int32_t *index, uint32_t t)
{
    BR_SHARED(bool, earlier, 256 / 32);
    bool seen = false;
    for (uint32_t i = threadIdx.x; i < t && !seen; i += 256)
        seen = index[i] == index[t];
    seen = gpu_any(seen);
    if (threadIdx.x % 32 == 0)
        earlier[threadIdx.x / 32] = seen;
    gpu_sync();
    bool owner = true;
    for (int w = 0; w < 256 / 32; w++)
        owner = owner && !earlier[w];
    gpu_sync();
    return owner;
}

#define SEEN 256 /* rows whose index is compared before they are added */

/* o[index[t] - first] += y[t]: a block for each t in turn.  One whose index is outside of o is left
 * out. */
BR_KERNEL(256, 1)
add_to_rows(struct rows o, struct rows y, const int32_t *index, int64_t first)
{
    BR_SHARED(uint32_t, same, SEEN / 32);
    for (uint32_t t = blockIdx.x; t < y.count; t += gridDim.x) {
        const int64_t row = index[t] - first;
        if (row < 0 || row >= o.count || !is_owner(index, t))
            continue;
        const int64_t to = o.at((uint32_t)row);
        for (uint32_t from = t; from < y.count; from += SEEN) {
            const uint32_t mine = from + threadIdx.x;
            const uint32_t which = gpu_ballot(mine < y.count && index[mine] == index[t]);
            if (threadIdx.x % 32 == 0)
                same[threadIdx.x / 32] = which;
            gpu_sync();
            for (uint32_t w = 0; w < SEEN / 32; w++)
                for (uint32_t left = same[w]; left; left &= left - 1) {
                    const int64_t at = y.at(from + 32 * w + (uint32_t)gpu_ffs(left) - 1);
                    for (uint32_t i = threadIdx.x; i < o.cols; i += 256)
                        o.write(to + i, o.read(to + i) + y.read(at + i));
                }
            gpu_sync();
        }
    }
}

/* Sums of bfloat16 rows are rounded once: they are made in float32 scratch. */
BR_KERNEL(256, 1) round_rows(struct rows o, const float *sum)
{
    FOR_EACH_ROW(r, o.count)
    {
        FOR_EACH_UNIT(i, o.cols)
        {
            o.write(o.at(r) + i, sum[(int64_t)r * o.cols + i]);
        }
    }
}

static size_t sum_bytes(const struct br_tensor *o)
{
    return o->dtype == BR_F32 ? 0 : (size_t)o->shape[0] * (size_t)o->shape[1] * sizeof(float);
}

static void scatter(const struct br_call *c, int64_t first, bool fresh)
{
    struct rows o = rows_of(c->out), y = rows_of(&c->in[0]), sum = o;
    if (o.dtype != BR_F32) {
        sum.data = c->scratch;
        sum.dtype = BR_F32;
        sum.stride[0] = sum.cols;
    }
    if (fresh)
        br__cuda_zero(c, sum.data, (size_t)sum.count * sum.cols * sizeof(float));
    BR_LAUNCH(c, add_to_rows, (unsigned)min_of(y.count, MAX_GRID_X), 256, 0, sum, y,
              (const int32_t *)c->in[1].data, first);
    if (o.dtype == BR_F32)
        return;
    struct cover k = cover_rows(o.count, o.cols);
    BR_LAUNCH(c, round_rows, k.grid, k.block, 0, o, (const float *)c->scratch);
}

SCRATCH_FUNCTION(scatter_rows)
{
    return sum_bytes(c->out);
}
ROW_FUNCTION(scatter_rows)
{
    scatter(c, 0, true);
}
ROW_FUNCTION(embed_grad)
{
    scatter(c, c->attr.i[0], true);
}
/* float32 sums that are there are added to. */
ROW_FUNCTION(embed_grad_add)
{
    scatter(c, c->attr.i[0], false);
}
