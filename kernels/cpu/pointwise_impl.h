/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* pointwise_impl.h - elementwise and broadcast kernels: one walk, a few lines of arithmetic each.
 *
 * Needs: vec.h.  Defines: the kernels add, mul, scale, sigmoid, swiglu and their like; map,
 * sigmoid_of, silu_slope. */

/* ---- the walk -------------------------------------------------------------------------------- */

/* a, b, y: elements of the inputs; s: f0 of the call, or the row's own factor */
typedef vf map_fn(vf a, vf b, vf y, vf s);

/* A vector is used for every row. */
BR__INLINE const float *operand(const struct br_tensor *t, const struct br__row_range *s)
{
    return (t->n_dim > 1 ? br__row(t, s->row) : (const float *)t->data) + s->col;
}

BR__INLINE void map_range(const float *a, const float *b, const float *y, float *o, int64_t n, vf s,
                          map_fn *f)
{
    int64_t i = 0;
    for (; i + VN <= n; i += VN)
        v_store(o + i, f(v_load(a + i), v_load(b + i), v_load(y + i), s));
    if (i < n) {
        int m = (int)(n - i);
        v_store_n(o + i, f(v_load_n(a + i, m), v_load_n(b + i, m), v_load_n(y + i, m), s), m);
    }
}

/* Inputs that the op does not have are the first again; f ignores them. */
BR__INLINE void map(const struct br_call *c, uint32_t n_in, map_fn *f)
{
    struct br__row_range s = br__row_ranges(c, br__rows(c->out), br__cols(c->out));
    vf factor = v_set1((float)c->attr.f[0]);
    while (br__row_range_next(&s)) {
        const float *a = operand(&c->in[0], &s);
        const float *b = n_in > 1 ? operand(&c->in[1], &s) : a;
        const float *y = n_in > 2 ? operand(&c->in[2], &s) : a;
        map_range(a, b, y, br__row(c->out, s.row) + s.col, s.n, factor, f);
    }
}

/* 1 / (1 + e^-x): 0 and 1 at the ends, never 0/0. */
BR__INLINE vf sigmoid_of(vf x)
{
    return v_div(v_set1(1), v_add(v_set1(1), v_exp(v_sub(v_zero(), x))));
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

BR__INLINE vf f_add(vf a, vf b, vf y, vf s)
{
    (void)y, (void)s;
    return v_add(a, b);
}

BR__INLINE vf f_mul(vf a, vf b, vf y, vf s)
{
    (void)y, (void)s;
    return v_mul(a, b);
}

BR__INLINE vf f_scale(vf a, vf b, vf y, vf s)
{
    (void)b, (void)y;
    return v_mul(a, s);
}

BR__INLINE vf f_swiglu(vf gate, vf up, vf y, vf s)
{
    (void)y, (void)s;
    return v_mul(v_mul(gate, sigmoid_of(gate)), up);
}

/* silu'(g) = s + g s (1 - s) */
BR__INLINE vf silu_slope(vf g)
{
    vf s = sigmoid_of(g);
    return v_fma(v_mul(g, s), v_sub(v_set1(1), s), s);
}

BR__INLINE vf f_swiglu_dgate(vf gate, vf up, vf y, vf s)
{
    (void)s;
    return v_mul(v_mul(y, up), silu_slope(gate));
}

BR__INLINE vf f_sigmoid(vf x, vf b, vf y, vf s)
{
    (void)b, (void)y, (void)s;
    return sigmoid_of(x);
}

BR__INLINE vf f_sigmoid_grad(vf s, vf y, vf unused, vf factor)
{
    (void)unused, (void)factor;
    return v_mul(y, v_mul(s, v_sub(v_set1(1), s)));
}

BR__INLINE vf f_rsqrt(vf x, vf b, vf y, vf s)
{
    (void)b, (void)y, (void)s;
    return v_div(v_set1(1), v_sqrt(x));
}

/* ---- kernels --------------------------------------------------------------------------------- */

void BR__FN(add)(const struct br_call *c)
{
    map(c, 2, f_add);
}

void BR__FN(zeros)(const struct br_call *c)
{
    int64_t from, to;
    br__thread_range(c, br__rows(c->out) * br__cols(c->out), 16, &from, &to);
    zero((float *)c->out->data + from, to - from);
}

/* Of n elements from the k-th on: o = a + b, each float32 or bfloat16. */
BR__INLINE void add_stretch(const struct br_tensor *o, const struct br_tensor *b, int64_t at,
                            int64_t b_at, int64_t n)
{
    const char *x = o->data, *y = b->data;
    for (int64_t i = 0; i < n; i += VN) {
        int m = n - i < VN ? (int)(n - i) : VN;
        vf sum = v_add(load_w_n(x, at + i, o->dtype, m), load_w_n(y, b_at + i, b->dtype, m));
        if (o->dtype == BR_BF16)
            v_store_bf16_n((uint16_t *)o->data + at + i, sum, m);
        else
            v_store_n((float *)o->data + at + i, sum, m);
    }
}

void BR__FN(add_to)(const struct br_call *c)
{
    const struct br_tensor *o = c->out, *b = &c->in[1];
    struct br__row_range s = br__row_ranges(c, br__rows(o), br__cols(o));
    while (br__row_range_next(&s))
        add_stretch(o, b, br__row_at(o, s.row) + s.col, br__row_at(b, s.row) + s.col, s.n);
}

void BR__FN(mul)(const struct br_call *c)
{
    map(c, 2, f_mul);
}

void BR__FN(scale)(const struct br_call *c)
{
    map(c, 1, f_scale);
}

void BR__FN(swiglu)(const struct br_call *c)
{
    map(c, 2, f_swiglu);
}

void BR__FN(swiglu_dgate)(const struct br_call *c)
{
    map(c, 3, f_swiglu_dgate);
}

void BR__FN(sigmoid)(const struct br_call *c)
{
    map(c, 1, f_sigmoid);
}

void BR__FN(sigmoid_grad)(const struct br_call *c)
{
    map(c, 2, f_sigmoid_grad);
}

void BR__FN(rsqrt)(const struct br_call *c)
{
    map(c, 1, f_rsqrt);
}

void BR__FN(mul_col)(const struct br_call *c)
{
    struct br__row_range s = br__row_ranges(c, br__rows(c->out), br__cols(c->out));
    while (br__row_range_next(&s))
        scaled(br__row(c->out, s.row) + s.col, br__row(&c->in[0], s.row) + s.col,
               *br__row(&c->in[1], s.row), s.n);
}
