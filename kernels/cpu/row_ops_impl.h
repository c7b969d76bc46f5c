/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* row_ops_impl.h - the kernels that move or sum whole rows.
 *
 * Needs: vec_ops_impl.h.  Defines: the kernels embed, gather_rows, scatter_rows, concat, pad,
 * interleave, cache_write, fill_rows, sum_rows, dot_rows and their gradients. */

/* ---- embedding ------------------------------------------------------------------------------- */

void BR__FN(embed)(const struct br_call *c)
{
    const struct br_tensor *table = &c->in[0];
    const int32_t *ids = br__ints(&c->in[1]);
    int64_t first = c->attr.i[0], vocab = table->shape[0];
    struct br__row_range s = br__row_ranges(c, br__rows(c->out), br__cols(c->out));
    while (br__row_range_next(&s)) {
        float *o = br__row(c->out, s.row) + s.col;
        int64_t id = ids[s.row] - first;
        if (id < 0 || id >= vocab)
            zero(o, s.n);
        else
            widen(o, table, br__row_at(table, id) + s.col, s.n);
    }
}

/* out[rows[t]] += y[t], in the order of t, for the columns of this thread; `fresh`: of zeros. */
static void scatter_add(const struct br_call *c, const struct br_tensor *y, const int32_t *rows,
                        int64_t first, int fresh)
{
    int64_t from, to, n_out = c->out->shape[0], n = y->shape[0];
    br__thread_range(c, br__cols(c->out), 16, &from, &to);
    if (from >= to)
        return;
    for (int64_t r = 0; fresh && r < n_out; r++)
        zero(br__row(c->out, r) + from, to - from);
    for (int64_t t = 0; t < n; t++) {
        int64_t r = rows[t] - first;
        if (r >= 0 && r < n_out)
            add_scaled(br__row(c->out, r) + from, br__row(y, t) + from, 1, to - from);
    }
}

void BR__FN(embed_grad)(const struct br_call *c)
{
    scatter_add(c, &c->in[0], br__ints(&c->in[1]), c->attr.i[0], c->op == BR_OP_EMBED_GRAD);
}

void BR__FN(scatter_rows)(const struct br_call *c)
{
    scatter_add(c, &c->in[0], br__ints(&c->in[1]), 0, 1);
}

void BR__FN(gather_rows)(const struct br_call *c)
{
    const int32_t *rows = br__ints(&c->in[1]);
    struct br__row_range s = br__row_ranges(c, br__rows(c->out), br__cols(c->out));
    while (br__row_range_next(&s)) {
        int64_t r = rows[s.row];
        int there = r >= 0 && r < c->in[0].shape[0];
        move(c->out, s.row, s.col, there ? br__place(&c->in[0], r, s.col) : NULL, s.n);
    }
}

/* ---- columns side by side -------------------------------------------------------------------- */

void BR__FN(concat)(const struct br_call *c)
{
    int64_t from, to;
    br__thread_range(c, c->out->shape[0], 1, &from, &to);
    for (int64_t t = from; t < to; t++) {
        int64_t at = 0;
        for (uint32_t i = 0; i < c->n_in; i++) {
            const struct br_tensor *x = &c->in[i];
            int64_t per = x->n_dim > 1 ? br__rows(x) / x->shape[0] : 1;
            int64_t n = x->n_dim > 1 ? br__cols(x) : 1;
            for (int64_t r = 0; r < per; r++, at += n)
                move(c->out, t, at,
                     x->n_dim > 1 ? br__place(x, t * per + r, 0) : br__place(x, 0, t), n);
        }
    }
}

/* Rows of zeros before and after; the first axis of x may hold several rows per index. */
static void pad_rows(const struct br_call *c)
{
    const struct br_tensor *x = &c->in[0];
    int64_t from, to, n = br__cols(x), per = br__rows(x) / x->shape[0];
    int64_t begin = c->attr.i[0] * per, end = begin + br__rows(x);
    br__thread_range(c, br__rows(c->out), 1, &from, &to);
    for (int64_t r = from; r < to; r++)
        move(c->out, r, 0, r < begin || r >= end ? NULL : br__place(x, r - begin, 0), n);
}

void BR__FN(pad)(const struct br_call *c)
{
    if (c->attr.i[2]) {
        pad_rows(c);
        return;
    }
    int64_t from, to, n = br__cols(&c->in[0]), start = c->attr.i[0], total = br__cols(c->out);
    br__thread_range(c, br__rows(c->out), 1, &from, &to);
    for (int64_t r = from; r < to; r++) {
        move(c->out, r, 0, NULL, start);
        move(c->out, r, start, br__place(&c->in[0], r, 0), n);
        move(c->out, r, start + n, NULL, total - start - n);
    }
}

void BR__FN(interleave)(const struct br_call *c)
{
    int64_t from, to, p = c->attr.i[0], n = br__cols(&c->in[0]), rows = c->out->shape[0];
    br__thread_range(c, rows, 1, &from, &to);
    for (int64_t t = from; t < to; t++)
        for (int64_t b = 0; b < p; b++)
            move(c->out, t, b * n, br__place(&c->in[0], b * rows + t, 0), n);
}

void BR__FN(deinterleave)(const struct br_call *c)
{
    int64_t from, to, p = c->attr.i[0], n = br__cols(c->out), rows = c->in[0].shape[0];
    br__thread_range(c, rows, 1, &from, &to);
    for (int64_t t = from; t < to; t++)
        for (int64_t b = 0; b < p; b++)
            move(c->out, b * rows + t, 0, br__place(&c->in[0], t, b * n), n);
}

/* Rows that lie outside of the cache are left out. */
void BR__FN(cache_write)(const struct br_call *c)
{
    const struct br_tensor *x = &c->in[1], *cache = c->out;
    const int32_t *rows = br__ints(&c->in[2]);
    int64_t from, to, heads = x->shape[1], d = x->shape[2];
    br__thread_range(c, x->shape[0] * heads, 1, &from, &to);
    for (int64_t i = from; i < to; i++) {
        int64_t row = rows[i / heads], at;
        if (row < 0 || row >= cache->shape[0])
            continue;
        int64_t src = i / heads * x->stride[0] + i % heads * x->stride[1];
        at = row * cache->stride[0] + i % heads * cache->stride[1];
        if (cache->dtype == BR_F32)
            widen((float *)cache->data + at, x, src, d);
        else if (x->dtype == BR_F32)
            narrow((uint16_t *)cache->data + at, (const float *)x->data + src, d);
        else
            memcpy((uint16_t *)cache->data + at, (const uint16_t *)x->data + src, 2 * (size_t)d);
    }
}

/* ---- sums over rows -------------------------------------------------------------------------- */

void BR__FN(fill_rows)(const struct br_call *c)
{
    struct br__row_range s = br__row_ranges(c, br__rows(c->out), br__cols(c->out));
    while (br__row_range_next(&s))
        move(c->out, s.row, s.col, br__place(&c->in[0], 0, s.col), s.n);
}

/* Rows whose partial sum is added to the total: rounding errors grow with the root of the number of
 * rows, not with the number. */
#define ROWS_AT_ONCE 64
/* Columns of a thread's work at once. */
#define COLS_AT_ONCE 256

void BR__FN(sum_rows)(const struct br_call *c)
{
    int64_t from, to, rows = br__rows(&c->in[0]);
    br__thread_range(c, br__cols(&c->in[0]), 16, &from, &to);
    float part[COLS_AT_ONCE];
    for (int64_t col = from; col < to; col += COLS_AT_ONCE) {
        int64_t n = min_of(to - col, COLS_AT_ONCE);
        float *o = (float *)c->out->data + col;
        zero(o, n);
        for (int64_t r = 0; r < rows;) {
            zero(part, n);
            for (int64_t end = r + ROWS_AT_ONCE; r < rows && r < end; r++)
                add_scaled(part, br__row(&c->in[0], r) + col, 1, n);
            add_scaled(o, part, 1, n);
        }
    }
}

void BR__FN(dot_rows)(const struct br_call *c)
{
    int64_t from, to, n = br__cols(&c->in[0]);
    br__thread_range(c, br__rows(c->out), 1, &from, &to);
    for (int64_t r = from; r < to; r++)
        *br__row(c->out, r) = dot(br__row(&c->in[0], r), br__row(&c->in[1], r), n);
}
