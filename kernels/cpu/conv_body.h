/* conv_body.h - the gated delta net's short convolution and its decay.
 *
 * A lane owns a range of channels for all tokens of all sequences, so that neither the weights it
 * turns round nor the states need a lock. */
#include "norm_body.h"

struct conv {
    const struct br_call *c;
    const struct br_tensor *x, *seqs;
    int64_t from, to, n, K; /* channels [from, to) of this lane, n of them; taps */
    float *w;               /* [K, n]: row j meets the token K - 1 - j before */
};

static struct conv conv_begin(const struct br_call *c, float **scratch)
{
    const struct br_tensor *w = &c->in[1];
    struct conv v = {.c = c, .x = &c->in[0], .seqs = &c->in[2], .K = br__cols(w)};
    br__lane_range(c, br__cols(v.x), 16, &v.from, &v.to);
    v.n = v.to > v.from ? v.to - v.from : 0;
    v.w = br__carve(scratch, v.K * v.n);
    for (int64_t i = 0; i < v.n; i++)
        for (int64_t j = 0; j < v.K; j++)
            v.w[j * v.n + i] = br__row(w, v.from + i)[j];
    return v;
}

/* `rows` rows of all channels for every lane together; ranges are whole cache lines but the last. */
BR__INLINE size_t conv_bytes(const struct br_call *c, int64_t rows)
{
    return rows * (br__line(br__cols(&c->in[0])) + 16 * c->team->n_lanes) * sizeof(float);
}

BR__INLINE float *conv_scratch(const struct br_call *c, int64_t rows)
{
    int64_t from, to;
    br__lane_range(c, br__cols(&c->in[0]), 16, &from, &to);
    return (float *)c->scratch + rows * (from + 16 * (int64_t)c->lane);
}

/* This lane's channels of the sequence's token t; before the first token those of `old`, the
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
    scaled(o, conv_row(v, s, t, old, ld), v->w[0], 0);
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
