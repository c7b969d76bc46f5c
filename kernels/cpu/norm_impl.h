/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* norm_impl.h - softmax and the norms over the last axis, with their gradients; rotary embedding.
 *
 * Needs: vec_ops_impl.h.  Defines: the kernels softmax, rmsnorm*, l2norm, their gradients, rope. */

/* ---- softmax --------------------------------------------------------------------------------- */

void BR__FN(softmax)(const struct br_call *c)
{
    int64_t from, to, n = br__cols(c->out);
    br__thread_range(c, br__rows(c->out), 1, &from, &to);
    for (int64_t r = from; r < to; r++) {
        const float *x = br__row(&c->in[0], r);
        float *o = br__row(c->out, r);
        scaled(o, o, 1 / exp_row(o, x, largest(x, n), n), n);
    }
}

void BR__FN(log_sum_exp)(const struct br_call *c)
{
    int64_t from, to, n = br__cols(&c->in[0]);
    br__thread_range(c, br__rows(c->out), 1, &from, &to);
    for (int64_t r = from; r < to; r++) {
        float max;
        double sum;
        log_sum(br__row(&c->in[0], r), n, &max, &sum);
        *br__row(c->out, r) = (float)(log(sum) + (double)max);
    }
}

void BR__FN(softmax_grad)(const struct br_call *c)
{
    int64_t from, to, n = br__cols(c->out);
    br__thread_range(c, br__rows(c->out), 1, &from, &to);
    for (int64_t r = from; r < to; r++) {
        const float *p = br__row(&c->in[0], r), *y = br__row(&c->in[1], r);
        float *o = br__row(c->out, r), inner = dot(p, y, n);
        for (int64_t i = 0; i < n; i += VN) {
            int k = n - i < VN ? (int)(n - i) : VN;
            vf d = v_sub(v_load_n(y + i, k), v_set1(inner));
            v_store_n(o + i, v_mul(v_load_n(p + i, k), d), k);
        }
    }
}

/* ---- RMS norm -------------------------------------------------------------------------------- */

BR__INLINE vf f_norm(vf x, vf w, vf y, vf r)
{
    (void)y;
    return v_mul(v_mul(x, r), w);
}

BR__INLINE vf f_norm_1p(vf x, vf w, vf y, vf r)
{
    (void)y;
    return v_mul(v_mul(x, r), v_add(v_set1(1), w));
}

BR__INLINE float inv_rms(const float *x, int64_t n, double eps)
{
    return 1 / sqrtf(dot(x, x, n) / (float)n + (float)eps);
}

void BR__FN(rmsnorm)(const struct br_call *c)
{
    int64_t from, to, n = br__cols(c->out);
    const float *w = c->in[1].data;
    br__thread_range(c, br__rows(c->out), 1, &from, &to);
    for (int64_t r = from; r < to; r++) {
        const float *x = br__row(&c->in[0], r);
        float *o = br__row(c->out, r);
        vf inv = v_set1(inv_rms(x, n, c->attr.f[0]));
        if (c->attr.i[0])
            map_range(x, w, x, o, n, inv, f_norm_1p);
        else
            map_range(x, w, x, o, n, inv, f_norm);
    }
}

BR__INLINE vf f_weighted(vf y, vf w, vf unused, vf one)
{
    (void)unused;
    return v_mul(y, v_add(one, w)); /* one: 1 or 0 */
}

/* o = (o - x * along) * r: o holds the gradient of the normalised row. */
BR__INLINE void project(float *o, const float *x, float along, float r, int64_t n)
{
    add_scaled(o, x, -along, n);
    scaled(o, o, r, n);
}

/* With g = y * weight: r (g - x r^2 mean(g x)). */
void BR__FN(rmsnorm_dx)(const struct br_call *c)
{
    int64_t from, to, n = br__cols(c->out);
    const float *w = c->in[1].data;
    vf one = v_set1(c->attr.i[0] ? 1 : 0);
    br__thread_range(c, br__rows(c->out), 1, &from, &to);
    for (int64_t row = from; row < to; row++) {
        const float *x = br__row(&c->in[0], row), *y = br__row(&c->in[2], row);
        float *o = br__row(c->out, row), r = inv_rms(x, n, c->attr.f[0]);
        map_range(y, w, y, o, n, one, f_weighted);
        project(o, x, r * r * (dot(o, x, n) / (float)n), r, n);
    }
}

size_t BR__FN(rmsnorm_dw_scratch)(const struct br_call *c)
{
    return br__line(br__rows(&c->in[0])) * sizeof(float);
}

/* Sum over rows of y x r: r of each row first, then each thread its columns. */
void BR__FN(rmsnorm_dw)(const struct br_call *c)
{
    const struct br_tensor *x = &c->in[0], *y = &c->in[1];
    int64_t from, to, rows = br__rows(x), d = br__cols(x);
    float *inv = c->scratch, part[COLS_AT_ONCE];
    br__thread_range(c, rows, 16, &from, &to);
    for (int64_t r = from; r < to; r++)
        inv[r] = inv_rms(br__row(x, r), d, c->attr.f[0]);
    br__sync(c);
    br__thread_range(c, d, 16, &from, &to);
    for (int64_t col = from; col < to; col += COLS_AT_ONCE) {
        int64_t n = min_of(to - col, COLS_AT_ONCE);
        float *o = (float *)c->out->data + col;
        zero(o, n);
        for (int64_t r = 0; r < rows;) {
            zero(part, n);
            for (int64_t end = r + ROWS_AT_ONCE; r < rows && r < end; r++) {
                const float *xr = br__row(x, r) + col, *yr = br__row(y, r) + col;
                vf k = v_set1(inv[r]);
                for (int64_t i = 0; i < n; i += VN) {
                    int m = n - i < VN ? (int)(n - i) : VN;
                    vf p = v_mul(v_mul(v_load_n(xr + i, m), k), v_load_n(yr + i, m));
                    v_store_n(part + i, v_add(v_load_n(part + i, m), p), m);
                }
            }
            add_scaled(o, part, 1, n);
        }
    }
}

/* ---- L2 norm --------------------------------------------------------------------------------- */

void BR__FN(l2norm)(const struct br_call *c)
{
    int64_t from, to, n = br__cols(c->out);
    br__thread_range(c, br__rows(c->out), 1, &from, &to);
    for (int64_t r = from; r < to; r++) {
        const float *x = br__row(&c->in[0], r);
        scaled(br__row(c->out, r), x, 1 / sqrtf(dot(x, x, n) + (float)c->attr.f[0]), n);
    }
}

/* r (y - x r^2 sum(x y)) */
void BR__FN(l2norm_grad)(const struct br_call *c)
{
    int64_t from, to, n = br__cols(c->out);
    br__thread_range(c, br__rows(c->out), 1, &from, &to);
    for (int64_t row = from; row < to; row++) {
        const float *x = br__row(&c->in[0], row), *y = br__row(&c->in[1], row);
        float *o = br__row(c->out, row), r = 1 / sqrtf(dot(x, x, n) + (float)c->attr.f[0]);
        copy(o, y, n);
        project(o, x, r * r * dot(y, x, n), r, n);
    }
}

/* ---- rotary embedding ------------------------------------------------------------------------ */

/* cos and sin of m angles times `by`.  The angle is the float32 product, as transformers forms it,
 * reduced to [-pi, pi] in double; cos and sin of its half, in [-pi/2, pi/2], are their Taylor
 * series (next term below 7e-10), and of the whole by the double-angle formulas.  Off by at most
 * about 3e-7. */
static void turn_of(float *cosine, float *sine, const float *inv_freq, float position, float by,
                    int64_t m)
{
    for (int64_t i = 0; i < m; i++) {
        double angle = position * inv_freq[i],
               magic = 0x1.8p52; /* adding it rounds to an integer */
        double turns = angle * 0.15915494309189535 + magic - magic;
        cosine[i] = (float)(0.5 * angle - turns * 3.141592653589793);
    }
    for (int64_t i = 0; i < m; i += VN) {
        int k = m - i < VN ? (int)(m - i) : VN;
        vf h = v_load_n(cosine + i, k), h2 = v_mul(h, h);
        vf s = v_set1(1.0f / 6227020800.0f);
        s = v_fma(s, h2, v_set1(-1.0f / 39916800));
        s = v_fma(s, h2, v_set1(1.0f / 362880));
        s = v_fma(s, h2, v_set1(-1.0f / 5040));
        s = v_fma(s, h2, v_set1(1.0f / 120));
        s = v_fma(s, h2, v_set1(-1.0f / 6));
        s = v_fma(v_mul(s, h2), h, h);
        vf q = v_set1(-1.0f / 87178291200.0f);
        q = v_fma(q, h2, v_set1(1.0f / 479001600));
        q = v_fma(q, h2, v_set1(-1.0f / 3628800));
        q = v_fma(q, h2, v_set1(1.0f / 40320));
        q = v_fma(q, h2, v_set1(-1.0f / 720));
        q = v_fma(q, h2, v_set1(1.0f / 24));
        q = v_fma(q, h2, v_set1(-0.5f));
        q = v_fma(q, h2, v_set1(1));
        vf twice = v_mul(v_set1(2 * by), s);
        v_store_n(sine + i, v_mul(twice, q), k);
        v_store_n(cosine + i, v_sub(v_set1(by), v_mul(twice, s)), k);
    }
}

size_t BR__FN(rope_scratch)(const struct br_call *c)
{
    return 2 * br__line(br__cols(&c->in[2])) * sizeof(float) * c->stream->n_threads;
}

/* (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin); the transpose has -sin. */
static void turn(float *o, const float *x, const float *cosine, const float *sine, vf sign,
                 int64_t m)
{
    for (int64_t i = 0; i < m; i += VN) {
        int k = m - i < VN ? (int)(m - i) : VN;
        vf a = v_load_n(x + i, k), b = v_load_n(x + m + i, k);
        vf cs = v_load_n(cosine + i, k), sn = v_mul(sign, v_load_n(sine + i, k));
        v_store_n(o + i, v_sub(v_mul(a, cs), v_mul(b, sn)), k);
        v_store_n(o + m + i, v_add(v_mul(b, cs), v_mul(a, sn)), k);
    }
}

void BR__FN(rope)(const struct br_call *c)
{
    const struct br_tensor *x = &c->in[0];
    int64_t m = br__cols(&c->in[2]), d = x->shape[2], heads = x->shape[1], from, to, last = -1;
    if (2 * m > d)
        m = d / 2;
    float *cosine = (float *)c->scratch + c->stream->thread * 2 * br__line(br__cols(&c->in[2]));
    float *sine = cosine + br__line(br__cols(&c->in[2]));
    vf sign = v_set1(c->attr.i[0] ? -1 : 1);
    br__thread_range(c, x->shape[0] * heads, 1, &from, &to);
    for (int64_t r = from; r < to; r++) {
        int64_t t = r / heads, h = r - t * heads;
        if (t != last)
            turn_of(cosine, sine, c->in[2].data, (float)br__ints(&c->in[1])[t], (float)c->attr.f[0],
                    m);
        last = t;
        float *o = br__head(c->out, t, h);
        const float *in = br__head(x, t, h);
        turn(o, in, cosine, sine, sign, m);
        copy(o + 2 * m, in + 2 * m, d - 2 * m);
    }
}
