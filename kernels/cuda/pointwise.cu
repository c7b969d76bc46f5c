/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* pointwise.cu - elementwise and broadcast kernels: one walk, a line of arithmetic each.
 *
 * Inputs and the result may be any mix of float32 and bfloat16; arithmetic is float32, and the
 * result is rounded once. */
#include "host.cuh"

/* ---- the walk -------------------------------------------------------------------------------- */

/* o = f(a, b, y), N elements at a time; s is f0 of the call.  Inputs that the op does not have are
 * the first again, which f ignores. */
template <class F, int N>
BR_KERNEL(256, 1)
map_rows(struct rows o, struct rows a, struct rows b, struct rows y, float s)
{
    const F f;
    FOR_EACH_ROW(r, o.count)
    {
        const int64_t o_at = o.at(r), a_at = a.at(r), b_at = b.at(r), y_at = y.at(r);
        FOR_EACH_UNIT(u, o.cols / N)
        {
            float va[N], vb[N], vy[N], vo[N];
            const int64_t i = (int64_t)u * N;
            read_many<N>(va, a.data, a.dtype, a_at + i);
            if (F::n_in > 1)
                read_many<N>(vb, b.data, b.dtype, b_at + i);
            if (F::n_in > 2)
                read_many<N>(vy, y.data, y.dtype, y_at + i);
            for (int j = 0; j < N; j++)
                vo[j] = f(va[j], F::n_in > 1 ? vb[j] : 0.f, F::n_in > 2 ? vy[j] : 0.f, s);
            write_many<N>(o.data, o.dtype, o_at + i, vo);
        }
    }
}

template <class F> static void map(const struct br_call *c)
{
    struct rows o = rows_of(c->out), in[3];
    bool wide = is_aligned(&o, 8);
    for (int i = 0; i < 3; i++) {
        in[i] = every_row(&c->in[i < F::n_in ? i : 0]);
        wide = wide && is_aligned(&in[i], 8);
    }
    struct cover k = cover_rows(o.count, wide ? o.cols / 8 : o.cols);
    if (wide)
        BR_LAUNCH(c, (map_rows<F, 8>), k.grid, k.block, 0, o, in[0], in[1], in[2],
                  (float)c->attr.f[0]);
    else
        BR_LAUNCH(c, (map_rows<F, 1>), k.grid, k.block, 0, o, in[0], in[1], in[2],
                  (float)c->attr.f[0]);
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

/* silu'(g) = s + g s (1 - s) */
BR_INLINE float silu_slope(float g)
{
    float s = sigmoid_of(g);
    return fmaf(g * s, 1.f - s, s);
}

#define FUNCTOR(name, inputs, expression)                                                          \
    struct name {                                                                                  \
        static constexpr int n_in = inputs;                                                        \
        BR_INLINE float operator()(float a, float b, float y, float s) const                       \
        {                                                                                          \
            (void)a, (void)b, (void)y, (void)s;                                                    \
            return expression;                                                                     \
        }                                                                                          \
    };

FUNCTOR(f_same, 1, a)
FUNCTOR(f_add, 2, a + b)
FUNCTOR(f_mul, 2, a *b)
FUNCTOR(f_scale, 1, a *s)
FUNCTOR(f_sigmoid, 1, sigmoid_of(a))
FUNCTOR(f_sigmoid_grad, 2, b *(a *(1.f - a))) /* a: sigmoid(x), b: y */
FUNCTOR(f_swiglu, 2, (a * sigmoid_of(a)) * b)
FUNCTOR(f_swiglu_dgate, 3, (y * b) * silu_slope(a)) /* a: gate, b: up */
FUNCTOR(f_rsqrt, 1, 1.f / sqrtf(a))

ROW_FUNCTION(add)
{
    map<f_add>(c);
}
ROW_FUNCTION(mul)
{
    map<f_mul>(c);
}
ROW_FUNCTION(scale)
{
    map<f_scale>(c);
}
ROW_FUNCTION(sigmoid)
{
    map<f_sigmoid>(c);
}
ROW_FUNCTION(sigmoid_grad)
{
    map<f_sigmoid_grad>(c);
}
ROW_FUNCTION(swiglu)
{
    map<f_swiglu>(c);
}
ROW_FUNCTION(swiglu_dgate)
{
    map<f_swiglu_dgate>(c);
}
ROW_FUNCTION(rsqrt)
{
    map<f_rsqrt>(c);
}
/* CAST, and FILL_ROWS: a vector serves every row. */
ROW_FUNCTION(cast)
{
    map<f_same>(c);
}

/* ---- one number for a row -------------------------------------------------------------------- */

/* o[r, i] = a[r, i] s[r] */
template <int N> BR_KERNEL(256, 1) scale_rows(struct rows o, struct rows a, struct rows s)
{
    FOR_EACH_ROW(r, o.count)
    {
        const int64_t o_at = o.at(r), a_at = a.at(r);
        const float by = s.read(s.at(r));
        FOR_EACH_UNIT(u, o.cols / N)
        {
            float v[N];
            read_many<N>(v, a.data, a.dtype, a_at + (int64_t)u * N);
            for (int j = 0; j < N; j++)
                v[j] *= by;
            write_many<N>(o.data, o.dtype, o_at + (int64_t)u * N, v);
        }
    }
}

ROW_FUNCTION(mul_col)
{
    struct rows o = rows_of(c->out), a = rows_of(&c->in[0]), s = rows_of(&c->in[1]);
    const bool wide = is_aligned(&o, 8) && is_aligned(&a, 8);
    struct cover k = cover_rows(o.count, wide ? o.cols / 8 : o.cols);
    if (wide)
        BR_LAUNCH(c, (scale_rows<8>), k.grid, k.block, 0, o, a, s);
    else
        BR_LAUNCH(c, (scale_rows<1>), k.grid, k.block, 0, o, a, s);
}

/* ---- in place -------------------------------------------------------------------------------- */

/* o += x, where o is the first input. */
BR_KERNEL(256, 1) add_rows_to(struct rows o, struct rows x)
{
    FOR_EACH_ROW(r, o.count)
    {
        const int64_t o_at = o.at(r), x_at = x.at(r);
        FOR_EACH_UNIT(i, o.cols)
        {
            o.write(o_at + i, o.read(o_at + i) + x.read(x_at + i));
        }
    }
}

ROW_FUNCTION(add_to)
{
    struct rows o = rows_of(c->out), x = rows_of(&c->in[1]);
    struct cover k = cover_rows(o.count, o.cols);
    BR_LAUNCH(c, add_rows_to, k.grid, k.block, 0, o, x);
}

ROW_FUNCTION(zeros)
{
    size_t n = dtype_bytes(c->out->dtype);
    for (uint32_t i = 0; i < c->out->n_dim; i++)
        n *= (size_t)c->out->shape[i];
    br__cuda_zero(c, c->out->data, n);
}

/* ---- the delta net's decay ------------------------------------------------------------------- */

/* o = -exp(A_log) softplus(a + dt_bias), or with y its gradient by a times y. */
template <bool GRAD>
BR_KERNEL(256, 1)
decay_rows(struct rows o, struct rows a, struct rows A_log, struct rows dt_bias, struct rows y)
{
    FOR_EACH_ROW(r, o.count)
    {
        const int64_t o_at = o.at(r), a_at = a.at(r), y_at = GRAD ? y.at(r) : 0;
        FOR_EACH_UNIT(h, o.cols)
        {
            const float rate = -expf(A_log.read(h)), x = a.read(a_at + h), bias = dt_bias.read(h);
            if (GRAD)
                o.write(o_at + h, rate / (1.f + expf(-x - bias)) * y.read(y_at + h));
            else
                o.write(o_at + h, rate * softplus(x + bias));
        }
    }
}

ROW_FUNCTION(gdn_decay)
{
    struct rows o = rows_of(c->out), a = rows_of(&c->in[0]);
    struct cover k = cover_rows(o.count, o.cols);
    BR_LAUNCH(c, decay_rows<false>, k.grid, k.block, 0, o, a, rows_of(&c->in[1]),
              rows_of(&c->in[2]), a);
}

ROW_FUNCTION(gdn_decay_da)
{
    struct rows o = rows_of(c->out);
    struct cover k = cover_rows(o.count, o.cols);
    BR_LAUNCH(c, decay_rows<true>, k.grid, k.block, 0, o, rows_of(&c->in[0]), rows_of(&c->in[1]),
              rows_of(&c->in[2]), rows_of(&c->in[3]));
}

/* ---- DROPOUT --------------------------------------------------------------------------------- */

/* SplitMix64 (Steele, Lea, Flood 2014): the numbered output of the stream `key`, as on the CPU. */
BR_INLINE uint64_t random_bits(uint64_t key, uint64_t number)
{
    uint64_t z = key + (number + 1) * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

struct dropout {
    const int32_t *state;   /* key, key */
    const int32_t *numbers; /* of the rows, or NULL: */
    const float *halves;    /* the same as two floats each, or NULL: 0, 1, ... */
    int64_t whole, from;    /* columns of the whole, and the first of these */
    uint64_t stream, limit;
    float keep;
};

BR_INLINE int64_t row_number(const struct dropout &d, uint32_t r)
{
    if (d.halves)
        return (int64_t)d.halves[2 * r] * 65536 + (int64_t)d.halves[2 * r + 1];
    return d.numbers ? d.numbers[r] : r;
}

BR_KERNEL(256, 1) dropout_rows(struct rows o, struct rows x, struct dropout d)
{
    const uint64_t whole = (uint64_t)(uint32_t)d.state[0] | (uint64_t)(uint32_t)d.state[1] << 32;
    const uint64_t key = random_bits(whole, d.stream);
    FOR_EACH_ROW(r, o.count)
    {
        const int64_t o_at = o.at(r), x_at = x.at(r);
        const int64_t row = row_number(d, r);
        FOR_EACH_UNIT(i, o.cols)
        {
            const uint64_t number = (uint64_t)(row * d.whole + d.from + i);
            const bool drops = random_bits(key, number) >> 32 < d.limit;
            o.write(o_at + i, x.read(x_at + i) * (drops ? 0.f : d.keep));
        }
    }
}

ROW_FUNCTION(dropout)
{
    const struct rows o = rows_of(c->out), x = rows_of(&c->in[0]);
    const double p = c->attr.f[0];
    const int32_t *state = (const int32_t *)c->in[1].data;
    const struct dropout d = {state,
                              c->in[1].shape[0] > 2 ? state + 2 : NULL,
                              c->n_in > 2 ? (const float *)c->in[2].data : NULL,
                              c->attr.i[2] ? c->attr.i[2] : o.cols,
                              c->attr.i[3],
                              (uint64_t)c->attr.i[0],
                              (uint64_t)(p * 4294967296.0),
                              (float)(1 / (1 - p))};
    const struct cover k = cover_rows(o.count, o.cols);
    BR_LAUNCH(c, dropout_rows, k.grid, k.block, 0, o, x, d);
}
