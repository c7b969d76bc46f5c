/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* conv_impl.h - the gated delta net's short convolution and its decay.
 *
 * Needs: vec_ops_impl.h, pointwise_impl.h.  Defines: the kernels conv1d_silu and gdn_decay and
 * their gradients.
 *
 * A thread owns a range of channels for all tokens of all sequences, so that neither the weights it
 * transposes nor the states need a lock. */

struct conv {
    const struct br_call *c;
    const struct br_tensor *x, *seqs;
    int64_t from, to, n, K; /* channels [from, to) of this thread, n of them; taps */
    float *w;               /* [K, n]: row j multiplies the token K - 1 - j before */
};

static struct conv conv_begin(const struct br_call *c, float **scratch)
{
    const struct br_tensor *w = &c->in[1];
    struct conv v = {.c = c, .x = &c->in[0], .seqs = &c->in[2], .K = br__cols(w)};
    br__thread_range(c, br__cols(v.x), 16, &v.from, &v.to);
    v.n = v.to > v.from ? v.to - v.from : 0;
    v.w = br__carve(scratch, v.K * v.n);
    for (int64_t i = 0; i < v.n; i++)
        for (int64_t j = 0; j < v.K; j++)
            v.w[j * v.n + i] = br__row(w, v.from + i)[j];
    return v;
}

/* `rows` rows of all channels for every thread together; ranges are whole cache lines but the last.
 */
BR__INLINE size_t conv_bytes(const struct br_call *c, int64_t rows)
{
    return rows * (br__line(br__cols(&c->in[0])) + 16 * c->stream->n_threads) * sizeof(float);
}

BR__INLINE float *conv_scratch(const struct br_call *c, int64_t rows)
{
    int64_t from, to;
    br__thread_range(c, br__cols(&c->in[0]), 16, &from, &to);
    return (float *)c->scratch + rows * (from + 16 * (int64_t)c->stream->thread);
}

/* This thread's channels of the sequence's token t; before the first token those of `old`, the
 * K - 1 rows (ld apart) that came before it, or NULL: zeros. */
BR__INLINE const float *conv_row(const struct conv *v, const struct br__seq *s, int64_t t,
                                 const float *old, int64_t ld)
{
    if (t >= 0)
        return br__row(v->x, s->q0 + t) + v->from;
    return old ? old + (v->K - 1 + t) * ld : NULL;
}

/* The convolution at token t. */
static void conv_at(const struct conv *v, const struct br__seq *s, int64_t t, const float *old,
                    int64_t ld, float *o)
{
    const float *last = conv_row(v, s, t, old, ld), *w = v->w + (v->K - 1) * v->n;
    for (int64_t i = 0; i < v->n; i += VN) {
        int m = v->n - i < VN ? (int)(v->n - i) : VN;
        v_store_n(o + i, v_mul(v_load_n(last + i, m), v_load_n(w + i, m)), m);
    }
    for (int64_t j = v->K - 2; j >= 0; j--) {
        const float *x = conv_row(v, s, t - (v->K - 1 - j), old, ld);
        w = v->w + j * v->n;
        for (int64_t i = 0; x && i < v->n; i += VN) {
            int m = v->n - i < VN ? (int)(v->n - i) : VN;
            vf p = v_fma(v_load_n(x + i, m), v_load_n(w + i, m), v_load_n(o + i, m));
            v_store_n(o + i, p, m);
        }
    }
}

/* Zero output rows that no sequence owns. */
static void conv_zero_unowned(const struct conv *v)
{
    const struct br_tensor *out = v->c->out;
    if (br__seqs_cover(v->seqs, out->shape[0], INT64_MAX))
        return;
    for (int64_t t = 0; t < out->shape[0]; t++)
        zero(br__row(out, t) + v->from, v->n);
}

size_t BR__FN(conv1d_silu_scratch)(const struct br_call *c)
{
    return conv_bytes(c, br__cols(&c->in[1]));
}

BR__INLINE vf f_silu(vf x, vf b, vf y, vf s)
{
    (void)b, (void)y, (void)s;
    return v_mul(x, sigmoid_of(x));
}

/* The last K - 1 tokens are what the next run begins with; what came before moves up. */
static void conv_keep(const struct conv *v, const struct br__seq *s, float *state, int64_t ld)
{
    const float *old = s->nk > s->nq ? state : NULL;
    for (int64_t i = 0; i < v->K - 1; i++) {
        const float *x = conv_row(v, s, s->nq - (v->K - 1) + i, old, ld);
        if (x)
            memmove(state + i * ld, x, (size_t)v->n * sizeof *x);
        else
            zero(state + i * ld, v->n);
    }
}

void BR__FN(conv1d_silu)(const struct br_call *c)
{
    float *scratch = conv_scratch(c, br__cols(&c->in[1]));
    struct conv v = conv_begin(c, &scratch);
    const struct br_tensor *states = c->n_in > 3 ? &c->in[3] : NULL;
    if (v.n == 0)
        return;
    conv_zero_unowned(&v);
    for (int64_t i = 0; i < v.seqs->shape[0]; i++) {
        struct br__seq s;
        float *state = NULL;
        if (!br__seq_at(v.seqs, i, c->out->shape[0], INT64_MAX, &s))
            continue;
        if (states && s.slot >= 0 && s.slot < states->shape[0])
            state = (float *)states->data + s.slot * states->stride[0] + v.from;
        int64_t ld = state ? states->stride[1] : 0;
        const float *old = s.nk > s.nq ? state : NULL;
        for (int64_t t = 0; t < s.nq; t++) {
            float *o = br__row(c->out, s.q0 + t) + v.from;
            conv_at(&v, &s, t, old, ld, o);
            map_range(o, o, o, o, v.n, v_zero(), f_silu);
        }
        if (state)
            conv_keep(&v, &s, state, ld);
    }
}

/* ---- gradients ------------------------------------------------------------------------------- */

BR__INLINE vf f_silu_grad(vf z, vf y, vf unused, vf s)
{
    (void)unused, (void)s;
    return v_mul(y, silu_slope(z));
}

/* Gradient of the convolution's own output at token t, into o. */
static void conv_dz(const struct conv *v, const struct br__seq *s, int64_t t, float *o)
{
    conv_at(v, s, t, NULL, 0, o);
    const float *y = br__row(&v->c->in[3], s->q0 + t) + v->from;
    map_range(o, y, y, o, v->n, v_zero(), f_silu_grad);
}

/* o += a * b */
BR__INLINE void add_product(float *o, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i += VN) {
        int m = n - i < VN ? (int)(n - i) : VN;
        v_store_n(o + i, v_fma(v_load_n(a + i, m), v_load_n(b + i, m), v_load_n(o + i, m)), m);
    }
}

size_t BR__FN(conv1d_silu_dx_scratch)(const struct br_call *c)
{
    return conv_bytes(c, 2 * br__cols(&c->in[1]));
}

/* dx[t] = sum over j of dz[t + K - 1 - j] w[j]: the last K of dz are kept in a ring, and a row of
 * dx is finished K - 1 tokens late. */
void BR__FN(conv1d_silu_dx)(const struct br_call *c)
{
    float *scratch = conv_scratch(c, 2 * br__cols(&c->in[1]));
    struct conv v = conv_begin(c, &scratch);
    if (v.n == 0)
        return;
    conv_zero_unowned(&v);
    for (int64_t i = 0; i < v.seqs->shape[0]; i++) {
        struct br__seq s;
        if (!br__seq_at(v.seqs, i, c->out->shape[0], INT64_MAX, &s))
            continue;
        for (int64_t t = 0; t < s.nq + v.K - 1; t++) {
            float *dz = scratch + t % v.K * v.n;
            if (t < s.nq)
                conv_dz(&v, &s, t, dz);
            else
                zero(dz, v.n);
            int64_t done = t - (v.K - 1);
            if (done < 0)
                continue;
            float *o = br__row(c->out, s.q0 + done) + v.from;
            zero(o, v.n);
            for (int64_t j = 0; j < v.K; j++)
                add_product(o, scratch + (t - j) % v.K * v.n, v.w + j * v.n, v.n);
        }
    }
}

size_t BR__FN(conv1d_silu_dw_scratch)(const struct br_call *c)
{
    return conv_bytes(c, 3 * br__cols(&c->in[1]) + 1);
}

/* dw[c, j] = sum over tokens of dz[t, c] x[t - (K - 1 - j), c] */
void BR__FN(conv1d_silu_dw)(const struct br_call *c)
{
    float *scratch = conv_scratch(c, 3 * br__cols(&c->in[1]) + 1);
    struct conv v = conv_begin(c, &scratch);
    float *sum = br__carve(&scratch, v.K * v.n), *part = br__carve(&scratch, v.K * v.n);
    if (v.n == 0)
        return;
    zero(sum, v.K * v.n);
    for (int64_t i = 0; i < v.seqs->shape[0]; i++) {
        struct br__seq s;
        if (!br__seq_at(v.seqs, i, c->in[0].shape[0], INT64_MAX, &s))
            continue;
        for (int64_t t = 0; t < s.nq;) {
            zero(part, v.K * v.n);
            for (int64_t end = t + ROWS_AT_ONCE; t < s.nq && t < end; t++) {
                conv_dz(&v, &s, t, scratch);
                for (int64_t j = 0; j < v.K; j++) {
                    const float *x = conv_row(&v, &s, t - (v.K - 1 - j), NULL, 0);
                    if (x)
                        add_product(part + j * v.n, scratch, x, v.n);
                }
            }
            add_scaled(sum, part, 1, v.K * v.n);
        }
    }
    for (int64_t i = 0; i < v.n; i++)
        for (int64_t j = 0; j < v.K; j++)
            br__row(c->out, v.from + i)[j] = sum[j * v.n + i];
}

/* ---- decay ----------------------------------------------------------------------------------- */

/* log(1 + e^x) without overflow, and without losing e^x beside 1. */
BR__INLINE float softplus(float x)
{
    return x > 0 ? x + log1pf(expf(-x)) : log1pf(expf(x));
}

void BR__FN(gdn_decay)(const struct br_call *c)
{
    const float *A_log = c->in[1].data, *dt_bias = c->in[2].data;
    struct br__row_range s = br__row_ranges(c, br__rows(c->out), br__cols(c->out));
    while (br__row_range_next(&s)) {
        const float *a = br__row(&c->in[0], s.row);
        float *o = br__row(c->out, s.row);
        for (int64_t h = s.col; h < s.col + s.n; h++)
            o[h] = -expf(A_log[h]) * softplus(a[h] + dt_bias[h]);
    }
}

void BR__FN(gdn_decay_da)(const struct br_call *c)
{
    const float *A_log = c->in[1].data, *dt_bias = c->in[2].data;
    struct br__row_range s = br__row_ranges(c, br__rows(c->out), br__cols(c->out));
    while (br__row_range_next(&s)) {
        const float *a = br__row(&c->in[0], s.row), *y = br__row(&c->in[3], s.row);
        float *o = br__row(c->out, s.row);
        for (int64_t h = s.col; h < s.col + s.n; h++)
            o[h] = -expf(A_log[h]) / (1 + expf(-a[h] - dt_bias[h])) * y[h];
    }
}
