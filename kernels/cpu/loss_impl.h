/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* loss_impl.h - cross entropy over rows of logits, and the row norms of DoRA.
 *
 * Needs: vec_ops_impl.h, row_ops_impl.h.  Defines: the kernels cross_entropy, cross_entropy_grad,
 * dora_inv_norm. */

/* ---- cross entropy --------------------------------------------------------------------------- */

/* A label outside of the vocabulary is not counted either. */
BR__INLINE int counts(int32_t label, int64_t V)
{
    return label >= 0 && label < V;
}

BR__INLINE int64_t n_counted(const int32_t *labels, int64_t T, int64_t V)
{
    int64_t n = 0;
    for (int64_t t = 0; t < T; t++)
        n += counts(labels[t], V);
    return n;
}

size_t BR__FN(cross_entropy_scratch)(const struct br_call *c)
{
    return (size_t)c->in[0].shape[0] * sizeof(double);
}

void BR__FN(cross_entropy)(const struct br_call *c)
{
    const struct br_tensor *x = &c->in[0];
    const int32_t *labels = br__ints(&c->in[1]);
    int64_t from, to, T = br__rows(x), V = br__cols(x), n = 0;
    double *loss = c->scratch, sum = 0;
    br__thread_range(c, T, 1, &from, &to);
    for (int64_t t = from; t < to; t++) {
        float max;
        if (!counts(labels[t], V))
            continue;
        const float *row = br__row(x, t);
        log_sum(row, V, &max, &sum);
        loss[t] = log(sum) + ((double)max - (double)row[labels[t]]);
    }
    br__sync(c);
    if (c->stream->thread != 0)
        return;
    sum = 0;
    for (int64_t t = 0; t < T; t++)
        if (counts(labels[t], V)) {
            sum += loss[t];
            n++;
        }
    *(float *)c->out->data = n ? (float)(sum / (double)n) : 0;
}

/* (softmax - 1 at the label) * y / number of labels that count */
void BR__FN(cross_entropy_grad)(const struct br_call *c)
{
    const struct br_tensor *x = &c->in[0];
    const int32_t *labels = br__ints(&c->in[1]);
    int64_t from, to, T = br__rows(x), V = br__cols(x), n = n_counted(labels, T, V);
    float each = n ? *(const float *)c->in[2].data / (float)n : 0;
    br__thread_range(c, T, 1, &from, &to);
    for (int64_t t = from; t < to; t++) {
        float *o = br__row(c->out, t), max;
        double sum;
        if (!counts(labels[t], V)) {
            zero(o, V);
            continue;
        }
        const float *row = br__row(x, t);
        log_sum(row, V, &max, &sum);
        exp_row(o, row, max, V);
        scaled(o, o, (float)((double)each / sum), V);
        o[labels[t]] -= each;
    }
}

void BR__FN(head_loss)(const struct br_call *c)
{
    int64_t from, to;
    br__thread_range(c, c->out->shape[0], 16, &from, &to);
    for (int64_t t = from; t < to; t++) {
        float max, logit, *o = (float *)c->out->data + t;
        double sum;
        *o = 0;
        if (head_row(c, t, &max, &sum, &logit))
            *o = (float)(log(sum) + ((double)max - (double)logit));
    }
}

/* ---- DoRA ------------------------------------------------------------------------------------ */

size_t BR__FN(dora_inv_norm_scratch)(const struct br_call *c)
{
    int64_t K = br__cols(&c->in[0]), r = br__cols(&c->in[2]);
    return (2 * br__line(K) + br__line(r)) * sizeof(float) * c->stream->n_threads;
}

/* 1 / |w[n] + f0 * sum over j of b[n, j] a[j]| for each row n.  All three may be 16-bit floats. */
void BR__FN(dora_inv_norm)(const struct br_call *c)
{
    const struct br_tensor *w = &c->in[0], *a = &c->in[1], *b = &c->in[2];
    int64_t from, to, K = br__cols(w), r = br__cols(b);
    float *sum = (float *)c->scratch + c->stream->thread * (2 * br__line(K) + br__line(r));
    float *row = sum + br__line(K), *bn = row + br__line(K);
    br__thread_range(c, w->shape[0], 1, &from, &to);
    for (int64_t n = from; n < to; n++) {
        widen(sum, w, br__row_at(w, n), K);
        widen(bn, b, br__row_at(b, n), r);
        for (int64_t j = 0; j < r; j++) {
            widen(row, a, br__row_at(a, j), K);
            add_scaled(sum, row, (float)c->attr.f[0] * bn[j], K);
        }
        ((float *)c->out->data)[n] = 1 / sqrtf(dot(sum, sum, K));
    }
}
