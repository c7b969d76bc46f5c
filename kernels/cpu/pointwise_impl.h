/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* pointwise_impl.h - elementwise and broadcast kernels: one walk, a few lines of arithmetic each.
 * Values are float32 or bfloat16; what is computed is float32, and rounded once.
 *
 * Needs: vec_ops_impl.h.  Defines: the kernels add, mul, scale, sigmoid, swiglu and their like;
 * map, sigmoid_of, silu_slope. */

/* ---- the walk -------------------------------------------------------------------------------- */

/* a, b, y: elements of the inputs; s: f0 of the call, or the row's own factor */
typedef vf map_fn(vf a, vf b, vf y, vf s);

/* VN elements of a run of float32 or bfloat16 from the i-th on, or n < VN; and their place. */
BR__INLINE vf map_load(const char *run, const uint32_t dtype, int64_t i, int n)
{
    return n == VN ? load_w(run, i, dtype) : load_w_n(run, i, dtype, n);
}

BR__INLINE void map_store(char *run, const uint32_t dtype, int64_t i, vf v, int n)
{
    uint16_t *half = (uint16_t *)(void *)run + i;
    float *to = (float *)(void *)run + i;
    if (dtype == BR_BF16 && n == VN)
        v_store_bf16(half, v);
    else if (dtype == BR_BF16)
        v_store_bf16_n(half, v, n);
    else if (n == VN)
        v_store(to, v);
    else
        v_store_n(to, v, n);
}

/* The same elements of the inputs and of the result. */
struct map_runs {
    const char *a, *b, *y;
    char *o;
};

/* kind: dtypes of a, b, y and the result */
BR__INLINE void map_run(const struct map_runs *r, const uint32_t kind[4], int64_t n, vf s,
                        map_fn *f)
{
    for (int64_t i = 0; i < n; i += VN) {
        int m = n - i < VN ? (int)(n - i) : VN;
        vf a = map_load(r->a, kind[0], i, m), b = map_load(r->b, kind[1], i, m);
        map_store(r->o, kind[3], i, f(a, b, map_load(r->y, kind[2], i, m), s), m);
    }
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

BR__INLINE void map_rows(const struct br_call *c, const struct br_tensor *const x[3],
                         const uint32_t kind[4], map_fn *f)
{
    struct br__row_range s = br__row_ranges(c, br__rows(c->out), br__cols(c->out));
    vf factor = v_set1((float)c->attr.f[0]);
    while (br__row_range_next(&s)) { /* a vector is used for every row */
        const struct map_runs r = {br__place(x[0], s.row, s.col), br__place(x[1], s.row, s.col),
                                   br__place(x[2], s.row, s.col), br__place(c->out, s.row, s.col)};
        map_run(&r, kind, s.n, factor, f);
    }
}

/* Of any dtypes, all float32 and all bfloat16 at full speed.  Inputs that the op does not have are
 * the first again; f ignores them. */
BR__INLINE void map(const struct br_call *c, uint32_t n_in, map_fn *f)
{
    static const uint32_t floats[4] = {BR_F32, BR_F32, BR_F32, BR_F32};
    static const uint32_t halves[4] = {BR_BF16, BR_BF16, BR_BF16, BR_BF16};
    const struct br_tensor *const x[3] = {&c->in[0], &c->in[n_in > 1 ? 1 : 0],
                                          &c->in[n_in > 2 ? 2 : 0]};
    const uint32_t kind[4] = {x[0]->dtype, x[1]->dtype, x[2]->dtype, c->out->dtype};
    if (memcmp(kind, floats, sizeof kind) == 0)
        map_rows(c, x, floats, f);
    else if (memcmp(kind, halves, sizeof kind) == 0)
        map_rows(c, x, halves, f);
    else
        map_rows(c, x, kind, f);
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
