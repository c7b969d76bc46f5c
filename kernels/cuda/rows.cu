/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* rows.cu - kernels that move rows, or parts of them, from one place to another.
 *
 * Each says for a row of the result, or a span of its columns, which row of an input it is; a row
 * that is not there is zeros.  Whatever an index tensor holds, nothing outside of the shapes is
 * read or written. */
#include "host.cuh"

/* ---- whole rows ------------------------------------------------------------------------------ */

/* o[r] = x[from(r)], or zeros where that is negative. */
template <class From, int N> BR_KERNEL(256, 1) copy_rows(struct rows o, struct rows x, From from)
{
    FOR_EACH_ROW(r, o.count)
    {
        const int64_t source = from(r), o_at = o.at(r);
        const bool there = source >= 0 && source < x.count;
        const int64_t x_at = there ? x.at((uint32_t)source) : 0;
        FOR_EACH_UNIT(u, o.cols / N)
        {
            float v[N];
            for (int j = 0; j < N; j++)
                v[j] = 0;
            if (there)
                read_many<N>(v, x.data, x.dtype, x_at + (int64_t)u * N);
            write_many<N>(o.data, o.dtype, o_at + (int64_t)u * N, v);
        }
    }
}

template <class From>
static void move_rows(const struct br_call *c, struct rows o, struct rows x, From from)
{
    const bool wide = is_aligned(&o, 8) && is_aligned(&x, 8);
    struct cover k = cover_rows(o.count, wide ? o.cols / 8 : o.cols);
    if (wide)
        BR_LAUNCH(c, (copy_rows<From, 8>), k.grid, k.block, 0, o, x, from);
    else
        BR_LAUNCH(c, (copy_rows<From, 1>), k.grid, k.block, 0, o, x, from);
}

/* Row r of the result is row index[r] / per - first. */
struct by_index {
    const int32_t *index;
    int64_t first, per;
    BR_INLINE int64_t operator()(uint32_t r) const
    {
        const int32_t i = index[r];
        return i < 0 ? -1 : i / per - first;
    }
};

ROW_FUNCTION(embed)
{
    move_rows(c, rows_of(c->out), rows_of(&c->in[0]),
              by_index{(const int32_t *)c->in[1].data, c->attr.i[0], 1});
}

ROW_FUNCTION(gather_rows)
{
    move_rows(c, rows_of(c->out), rows_of(&c->in[0]),
              by_index{(const int32_t *)c->in[1].data, 0, 1});
}

ROW_FUNCTION(moe_gather)
{
    move_rows(c, rows_of(c->out), rows_of(&c->in[0]),
              by_index{(const int32_t *)c->in[1].data, 0, c->attr.i[0]});
}

/* Row r of the result is row r - first. */
struct shifted {
    int64_t first;
    BR_INLINE int64_t operator()(uint32_t r) const
    {
        return (int64_t)r - first;
    }
};

/* ---- parts of rows --------------------------------------------------------------------------- */

/* x[count, n] as columns [at, at + n) of o[count, ..], a part of each row's `per` pieces: piece p
 * of row t is row t * per + p of x, and lies at + p * n. */
static void place_columns(const struct br_call *c, struct rows o, struct rows x, int64_t at,
                          uint32_t per)
{
    struct rows part = o; /* the result seen as rows of x's width */
    part.data = (char *)o.data + at * (int64_t)dtype_bytes(o.dtype);
    part.cols = x.cols;
    part.count = o.count * per;
    part.stride[1] = 0;
    part.n[1] = 1;
    part.n[2] = per;
    part.n[0] = o.count;
    part.stride[2] = x.cols;
    if (per == 1)
        part.stride[2] = 0;
    move_rows(c, part, x, shifted{0});
}

ROW_FUNCTION(concat)
{
    struct rows o = rows_of(c->out);
    int64_t at = 0;
    for (uint32_t i = 0; i < c->n_in; i++) {
        struct rows x = rows_of(&c->in[i]);
        const uint32_t per = o.count ? x.count / o.count : 0;
        place_columns(c, o, x, at, per);
        at += (int64_t)per * x.cols;
    }
}

/* o[r, start + i] = x[r, i], zeros around. */
BR_KERNEL(256, 1) pad_columns(struct rows o, struct rows x, uint32_t start)
{
    FOR_EACH_ROW(r, o.count)
    {
        const int64_t o_at = o.at(r), x_at = x.at(r);
        FOR_EACH_UNIT(i, o.cols)
        {
            const bool there = i >= start && i - start < x.cols;
            o.write(o_at + i, there ? x.read(x_at + i - start) : 0.f);
        }
    }
}

ROW_FUNCTION(pad)
{
    struct rows o = rows_of(c->out), x = rows_of(&c->in[0]);
    if (c->attr.i[2]) { /* rows of zeros; an index of the first axis may be several rows */
        const int64_t per = x.count / c->in[0].shape[0];
        move_rows(c, o, x, shifted{c->attr.i[0] * per});
        return;
    }
    struct cover k = cover_rows(o.count, o.cols);
    BR_LAUNCH(c, pad_columns, k.grid, k.block, 0, o, x, (uint32_t)c->attr.i[0]);
}

/* x[p * T, n] -> [T, p * n]: row r of the result, seen as [T * p, n], is row r % p * T + r / p. */
struct interleaved {
    uint32_t p, T;
    BR_INLINE int64_t operator()(uint32_t r) const
    {
        return (int64_t)(r % p) * T + r / p;
    }
};

/* A matrix seen as rows of 1 / p of its width. */
static struct rows cut_columns(const struct br_tensor *t, uint32_t p)
{
    struct rows x = rows_of(t);
    x.cols /= p;
    x.n[0] = x.count;
    x.n[1] = 1;
    x.n[2] = p;
    x.stride[1] = 0;
    x.stride[2] = p > 1 ? x.cols : 0;
    x.count *= p;
    return x;
}

ROW_FUNCTION(interleave)
{
    const uint32_t p = (uint32_t)c->attr.i[0];
    move_rows(c, cut_columns(c->out, p), rows_of(&c->in[0]),
              interleaved{p, (uint32_t)c->out->shape[0]});
}

ROW_FUNCTION(deinterleave)
{
    const uint32_t p = (uint32_t)c->attr.i[0];
    move_rows(c, rows_of(c->out), cut_columns(&c->in[0], p),
              interleaved{(uint32_t)c->in[0].shape[0], p});
}

/* ---- caches ---------------------------------------------------------------------------------- */

/* Heads of token t go to row row_of[t] of the cache; a row outside of the cache is left out. */
BR_KERNEL(256, 1)
write_cache(struct rows cache, struct rows x, const int32_t *row_of, uint32_t heads, int64_t slots)
{
    FOR_EACH_ROW(r, x.count)
    {
        const int64_t row = row_of[r / heads];
        const bool there = row >= 0 && row < slots;
        const int64_t to = there ? cache.at((uint32_t)(row * heads + r % heads)) : 0;
        const int64_t at = x.at(r);
        FOR_EACH_UNIT(i, x.cols)
        {
            if (there)
                cache.write(to + i, x.read(at + i));
        }
    }
}

ROW_FUNCTION(cache_write)
{
    struct rows cache = rows_of(c->out), x = rows_of(&c->in[1]);
    struct cover k = cover_rows(x.count, x.cols);
    BR_LAUNCH(c, write_cache, k.grid, k.block, 0, cache, x, (const int32_t *)c->in[2].data,
              (uint32_t)c->in[1].shape[1], c->out->shape[0]);
}

/* ---- rows of no sequence --------------------------------------------------------------------- */

/* `per` rows of the result are a token's; a block has a token. */
BR_KERNEL(256, 1) zero_unowned(struct rows o, struct seqs seqs, uint32_t per, int64_t S)
{
    const uint32_t T = o.count / per;
    for (uint32_t t = blockIdx.x; t < T; t += gridDim.x) {
        struct seq s;
        if (warp_seq_of(seqs, t, T, S, &s))
            continue;
        for (uint32_t i = threadIdx.x; i < per * o.cols; i += blockDim.x)
            o.write(o.at(t * per + i / o.cols) + i % o.cols, 0.f);
    }
}

void br__cuda_zero_unowned(const struct br_call *c, const struct br_tensor *seqs_of_call, int64_t S)
{
    const int64_t T = c->out->shape[0];
    struct rows o = rows_of(c->out);
    if (T > 0)
        BR_LAUNCH(c, zero_unowned, (unsigned)min_of(T, MAX_GRID_X), 256, 0, o,
                  seqs_of(seqs_of_call), o.count / (uint32_t)T, S);
}
