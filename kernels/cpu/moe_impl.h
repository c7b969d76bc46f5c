/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* moe_impl.h - routing: the best k experts of a token, slots sorted by expert, rows there and back.
 *
 * Needs: vec_ops_impl.h.  Defines: the kernels topk, gather_cols, scatter_cols, count_cols, moe_*.
 *
 * Slot t*k + j is the j-th choice of token t.  `order` lists slots in the order of the rows that
 * the grouped products work on; -1 fills the end. */

/* ---- choosing -------------------------------------------------------------------------------- */

/* NaN counts as largest, as in torch, so that the k indices are always k different ones. */
BR__INLINE int beats(float a, float b)
{
    return a > b || (a != a && b == b);
}

void BR__FN(topk)(const struct br_call *c)
{
    int64_t from, to, E = br__cols(&c->in[0]), k = c->attr.i[0];
    br__thread_range(c, br__rows(&c->in[0]), 1, &from, &to);
    for (int64_t t = from; t < to; t++) {
        const float *x = br__row(&c->in[0], t);
        int32_t *best = (int32_t *)c->out->data + br__row_at(c->out, t);
        int64_t n = 0;
        for (int64_t e = 0; e < E; e++) {
            if (n == k && !beats(x[e], x[best[k - 1]]))
                continue;
            int64_t at = n < k ? n++ : k - 1;
            for (; at > 0 && beats(x[e], x[best[at - 1]]); at--)
                best[at] = best[at - 1];
            best[at] = (int32_t)e;
        }
    }
}

void BR__FN(gather_cols)(const struct br_call *c)
{
    int64_t from, to, E = br__cols(&c->in[0]), k = br__cols(&c->in[1]);
    br__thread_range(c, br__rows(c->out), 1, &from, &to);
    for (int64_t t = from; t < to; t++) {
        const float *x = br__row(&c->in[0], t);
        const int32_t *idx = br__ints(&c->in[1]) + br__row_at(&c->in[1], t);
        float *o = br__row(c->out, t);
        for (int64_t j = 0; j < k; j++)
            o[j] = idx[j] >= 0 && idx[j] < E ? x[idx[j]] : 0;
    }
}

void BR__FN(scatter_cols)(const struct br_call *c)
{
    int64_t from, to, E = br__cols(c->out), k = br__cols(&c->in[1]);
    br__thread_range(c, br__rows(c->out), 1, &from, &to);
    for (int64_t t = from; t < to; t++) {
        const float *y = br__row(&c->in[0], t);
        const int32_t *idx = br__ints(&c->in[1]) + br__row_at(&c->in[1], t);
        float *o = br__row(c->out, t);
        zero(o, E);
        for (int64_t j = 0; j < k; j++)
            if (idx[j] >= 0 && idx[j] < E)
                o[idx[j]] += y[j];
    }
}

void BR__FN(count_cols)(const struct br_call *c)
{
    int64_t from, to, rows = br__rows(&c->in[0]), k = br__cols(&c->in[0]);
    float *o = c->out->data;
    br__thread_range(c, br__cols(c->out), 16, &from, &to);
    if (from >= to)
        return;
    zero(o + from, to - from);
    for (int64_t t = 0; t < rows; t++) {
        const int32_t *idx = br__ints(&c->in[0]) + br__row_at(&c->in[0], t);
        for (int64_t j = 0; j < k; j++)
            if (idx[j] >= from && idx[j] < to)
                o[idx[j]]++;
    }
}

/* Slots of each local expert are counted, then put behind those of the experts before it: a few
 * thousand small integers, one thread's work. */
void BR__FN(moe_sort)(const struct br_call *c)
{
    const struct br_tensor *idx = &c->in[0];
    int64_t rows = br__rows(idx), k = br__cols(idx), first = c->attr.i[0], E = c->attr.i[1];
    int32_t *offsets = c->out->data, *order = offsets + E + 1, sum = 0;
    if (c->stream->thread != 0)
        return;
    memset(offsets, 0, (size_t)(E + 1) * sizeof *offsets);
    for (int64_t s = 0; s < rows * k; s++) {
        int64_t e = br__ints(idx)[br__row_at(idx, s / k) + s % k] - first;
        if (e >= 0 && e < E)
            offsets[e]++;
    }
    for (int64_t e = 0; e <= E; e++) { /* where expert e starts */
        int32_t n = offsets[e];
        offsets[e] = sum;
        sum += n;
    }
    for (int64_t s = 0; s < rows * k; s++) {
        int64_t e = br__ints(idx)[br__row_at(idx, s / k) + s % k] - first;
        if (e >= 0 && e < E)
            order[offsets[e]++] = (int32_t)s;
    }
    for (int64_t e = E; e > 0; e--) /* each start had moved on to the next one's */
        offsets[e] = offsets[e - 1];
    offsets[0] = 0;
    for (int64_t r = sum; r < rows * k; r++)
        order[r] = -1;
}

/* ---- rows there ------------------------------------------------------------------------------ */

void BR__FN(moe_gather)(const struct br_call *c)
{
    const int32_t *order = br__ints(&c->in[1]);
    int64_t k = c->attr.i[0], T = c->in[0].shape[0];
    struct br__row_range s = br__row_ranges(c, br__rows(c->out), br__cols(c->out));
    while (br__row_range_next(&s)) {
        int64_t slot = order[s.row];
        int there = slot >= 0 && slot / k < T;
        move(c->out, s.row, s.col, there ? br__place(&c->in[0], slot / k, s.col) : NULL, s.n);
    }
}

void BR__FN(moe_combine_dy)(const struct br_call *c)
{
    const struct br_tensor *z = &c->in[0], *p = &c->in[1];
    const int32_t *order = br__ints(&c->in[2]);
    int64_t k = br__cols(p), slots = p->shape[0] * k;
    struct br__row_range s = br__row_ranges(c, br__rows(c->out), br__cols(c->out));
    while (br__row_range_next(&s)) {
        float *o = br__row(c->out, s.row) + s.col;
        int64_t slot = order[s.row];
        if (slot < 0 || slot >= slots)
            zero(o, s.n);
        else
            scaled(o, br__row(z, slot / k) + s.col, br__row(p, slot / k)[slot % k], s.n);
    }
}

/* ---- and back: the row of each slot, every thread for its own tokens ------------------------- */

/* Slots of all threads together, one table each. */
BR__INLINE size_t rows_of_slots_bytes(const struct br_call *c, int64_t slots)
{
    return br__line(slots) * sizeof(int32_t) * c->stream->n_threads;
}

/* row[slot] for slots [from, to), -1 where order does not name it; indexed from 0. */
BR__INLINE const int32_t *rows_of_slots(const struct br_call *c, const struct br_tensor *order,
                                        int64_t slots, int64_t from, int64_t to)
{
    int32_t *row = (int32_t *)c->scratch + br__line(slots) * c->stream->thread;
    for (int64_t s = from; s < to; s++)
        row[s] = -1;
    for (int64_t r = 0; r < order->shape[0]; r++) {
        int64_t s = br__ints(order)[r];
        if (s >= from && s < to)
            row[s] = (int32_t)r;
    }
    return row;
}

size_t BR__FN(moe_gather_grad_scratch)(const struct br_call *c)
{
    return rows_of_slots_bytes(c, c->attr.i[0] * c->attr.i[1]);
}

/* out[t] = sum over j, in their order, of p[t, j] * y[row of slot (t, j)]; p NULL: ones. */
BR__INLINE void combine(const struct br_call *c, const struct br_tensor *y,
                        const struct br_tensor *p, const struct br_tensor *order, int64_t k)
{
    struct br__row_range s = br__row_ranges(c, br__rows(c->out), br__cols(c->out));
    int64_t T = c->out->shape[0];
    if (s.at >= s.end)
        return;
    const int32_t *row =
        rows_of_slots(c, order, T * k, s.at / s.cols * k, ((s.end - 1) / s.cols + 1) * k);
    while (br__row_range_next(&s)) {
        float *o = br__row(c->out, s.row) + s.col;
        zero(o, s.n);
        for (int64_t j = 0; j < k; j++) {
            int64_t r = row[s.row * k + j];
            if (r >= 0 && r < y->shape[0])
                add_scaled(o, br__row(y, r) + s.col, p ? br__row(p, s.row)[j] : 1, s.n);
        }
    }
}

void BR__FN(moe_gather_grad)(const struct br_call *c)
{
    combine(c, &c->in[0], NULL, &c->in[1], c->attr.i[0]);
}

size_t BR__FN(moe_combine_scratch)(const struct br_call *c)
{
    return rows_of_slots_bytes(c, c->in[1].shape[0] * br__cols(&c->in[1]));
}

void BR__FN(moe_combine)(const struct br_call *c)
{
    combine(c, &c->in[0], &c->in[1], &c->in[2], br__cols(&c->in[1]));
}

size_t BR__FN(moe_combine_dp_scratch)(const struct br_call *c)
{
    return rows_of_slots_bytes(c, c->out->shape[0] * br__cols(c->out));
}

void BR__FN(moe_combine_dp)(const struct br_call *c)
{
    const struct br_tensor *z = &c->in[0], *y = &c->in[1];
    int64_t from, to, k = br__cols(c->out), T = c->out->shape[0], n = br__cols(z);
    br__thread_range(c, T, 1, &from, &to);
    const int32_t *row = rows_of_slots(c, &c->in[2], T * k, from * k, to * k);
    for (int64_t t = from; t < to; t++)
        for (int64_t j = 0; j < k; j++) {
            int64_t r = row[t * k + j];
            int there = r >= 0 && r < y->shape[0];
            br__row(c->out, t)[j] = there ? dot(br__row(z, t), br__row(y, r), n) : 0;
        }
}
