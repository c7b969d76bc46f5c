/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* optim_impl.h - the optimizer's passes over flat arrays, and changes of dtype.
 *
 * Needs: vec_ops_impl.h.  Defines: the kernels square_sums, adamw, cast, dropout. */

#define SQUARES_CHUNK 65536
#define SQUARES_PARTS 16

/* part[j] += x[j]^2; the compiler's vectors are good enough, for there are none of doubles in vec.h
 */
BR__INLINE void add_squares(double *part, const float *x, int n)
{
    for (int j = 0; j < n; j++)
        part[j] += (double)x[j] * (double)x[j];
}

/* Of n elements from the at-th on. */
static double squares_of(const struct br_tensor *x, int64_t at, int64_t n)
{
    double part[SQUARES_PARTS] = {0}, sum = 0;
    float wide[SQUARES_PARTS];
    int64_t i = 0;
    for (; x->dtype == BR_F32 && i + SQUARES_PARTS <= n; i += SQUARES_PARTS)
        add_squares(part, (const float *)x->data + at + i, SQUARES_PARTS);
    for (; i < n; i += SQUARES_PARTS) {
        int m = n - i < SQUARES_PARTS ? (int)(n - i) : SQUARES_PARTS;
        widen(wide, x, at + i, m);
        add_squares(part, wide, m);
    }
    for (int j = 0; j < SQUARES_PARTS; j++)
        sum += part[j];
    return sum;
}

/* How many of n elements from the at-th on are 0 when multiplied by `scale`. */
static double zeros_of(const struct br_tensor *x, int64_t at, int64_t n, float scale)
{
    float wide[SQUARES_PARTS];
    uint32_t zeros = 0;
    for (int64_t i = 0; i < n; i += SQUARES_PARTS) {
        int m = n - i < SQUARES_PARTS ? (int)(n - i) : SQUARES_PARTS;
        widen(wide, x, at + i, m);
        for (int j = 0; j < m; j++)
            zeros += wide[j] * scale == 0;
    }
    return zeros;
}

void BR__FN(square_sums)(const struct br_call *c)
{
    const struct br_tensor *x = &c->in[0];
    int64_t n = br__cols(x);
    struct br__share share = br__share(c, c->out->shape[0]);
    for (int64_t i; br__share_next(&share, &i);) {
        int64_t at = i * SQUARES_CHUNK, left = n - at;
        left = min_of(left, SQUARES_CHUNK);
        ((double *)c->out->data)[i] =
            c->attr.i[0] ? zeros_of(x, at, left, (float)c->attr.f[0]) : squares_of(x, at, left);
    }
}

/* The constants of a step, each in all threads. */
struct adamw {
    vf lr, beta1, beta2, rest1, rest2, eps, decay, correct1, correct2, scale;
};

static struct adamw adamw_of(const float *h)
{
    vf one = v_set1(1);
    struct adamw a = {v_set1(h[0]), v_set1(h[1]), v_set1(h[2]), .eps = v_set1(h[3])};
    a.decay = v_set1(h[4]);
    a.correct1 = v_set1(h[5]);
    a.correct2 = v_set1(h[6]);
    a.scale = v_set1(h[7]);
    a.rest1 = v_sub(one, a.beta1);
    a.rest2 = v_sub(one, a.beta2);
    return a;
}

/* One vector; *m and *v change.  Returns the new weights. */
BR__INLINE vf adamw_step(const struct adamw *a, vf p, vf *m, vf *v, vf g)
{
    g = v_mul(g, a->scale);
    *m = v_add(v_mul(a->beta1, *m), v_mul(a->rest1, g));
    *v = v_add(v_mul(a->beta2, *v), v_mul(v_mul(a->rest2, g), g));
    vf mean = v_div(*m, a->correct1), square = v_div(*v, a->correct2);
    vf update = v_div(mean, v_add(v_sqrt(square), a->eps));
    update = v_add(update, v_mul(a->decay, p));
    return v_sub(p, v_mul(a->lr, update));
}

void BR__FN(adamw)(const struct br_call *c)
{
    float *p = c->out->data, *m = c->in[1].data, *v = c->in[2].data;
    const struct br_tensor *grad = &c->in[3];
    const struct adamw a = adamw_of(c->in[4].data);
    uint16_t *copy = c->n_in > 5 ? c->in[5].data : NULL;
    int64_t from, to;
    br__thread_range(c, br__cols(c->out), 32, &from, &to);
    for (int64_t i = from; i < to; i += VN) {
        int n = to - i < VN ? (int)(to - i) : VN;
        vf new_m = v_load_n(m + i, n), new_v = v_load_n(v + i, n);
        vf new_p = adamw_step(&a, v_load_n(p + i, n), &new_m, &new_v,
                              load_w_n(grad->data, i, grad->dtype, n));
        v_store_n(p + i, new_p, n);
        v_store_n(m + i, new_m, n);
        v_store_n(v + i, new_v, n);
        if (copy)
            v_store_bf16_n(copy + i, new_p, n);
    }
}

void BR__FN(cast)(const struct br_call *c)
{
    const struct br_tensor *x = &c->in[0], *o = c->out;
    struct br__row_range s = br__row_ranges(c, br__rows(o), br__cols(o));
    while (br__row_range_next(&s)) {
        int64_t at = br__row_at(x, s.row) + s.col, to = br__row_at(o, s.row) + s.col;
        if (o->dtype == BR_F32)
            widen((float *)o->data + to, x, at, s.n);
        else if (x->dtype == BR_F32)
            narrow((uint16_t *)o->data + to, (const float *)x->data + at, s.n);
        else
            memcpy((uint16_t *)o->data + to, (const uint16_t *)x->data + at, 2 * (size_t)s.n);
    }
}

/* ---- dropout --------------------------------------------------------------------------------- */

/* SplitMix64 (Steele, Lea, Flood 2014): the numbered output of the stream `key`. */
BR__INLINE uint64_t random_bits(uint64_t key, uint64_t number)
{
    uint64_t z = key + (number + 1) * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* Of a row of x: what travels with it, what the state says, or its place. */
BR__INLINE int64_t row_number(const struct br_call *c, int64_t row)
{
    const struct br_tensor *state = &c->in[1];
    if (c->n_in > 2) {
        const float *half = br__row(&c->in[2], row);
        return (int64_t)half[0] * 65536 + (int64_t)half[1];
    }
    return state->shape[0] > 2 ? br__ints(state)[2 + row] : row;
}

#define DROPOUT_AT_ONCE 256

void BR__FN(dropout)(const struct br_call *c)
{
    const struct br_tensor *x = &c->in[0], *o = c->out;
    const int32_t *state = br__ints(&c->in[1]);
    uint64_t key = (uint64_t)(uint32_t)state[0] | (uint64_t)(uint32_t)state[1] << 32;
    int64_t cols = br__cols(o);
    int64_t whole = c->attr.i[2] ? c->attr.i[2] : cols, from = c->attr.i[3];
    uint64_t limit = (uint64_t)(c->attr.f[0] * 4294967296.0);
    float keep = (float)(1 / (1 - c->attr.f[0])), part[DROPOUT_AT_ONCE];
    struct br__row_range s = br__row_ranges(c, br__rows(o), cols);
    key = random_bits(key, (uint64_t)c->attr.i[0]);
    while (br__row_range_next(&s))
        for (int64_t i = 0; i < s.n; i += DROPOUT_AT_ONCE) {
            int64_t n = s.n - i < DROPOUT_AT_ONCE ? s.n - i : DROPOUT_AT_ONCE, col = s.col + i;
            int64_t number = row_number(c, s.row) * whole + from + col,
                    to = br__row_at(o, s.row) + col;
            widen(part, x, br__row_at(x, s.row) + col, n);
            for (int64_t k = 0; k < n; k++)
                part[k] *= random_bits(key, (uint64_t)(number + k)) >> 32 < limit ? 0 : keep;
            if (o->dtype == BR_F32)
                memcpy((float *)o->data + to, part, (size_t)n * sizeof *part);
            else
                narrow((uint16_t *)o->data + to, part, n);
        }
}
