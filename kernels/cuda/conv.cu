/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* conv.cu - the gated delta net's short convolution, and its gradients.
 *
 * x[T, C], w[C, K]: z[t, c] = sum over j of w[c, j] x[t - (K - 1 - j), c], then silu.  Tokens
 * before a sequence's first come from its state [K - 1, C] where it goes on, and are zeros
 * otherwise.  A thread has a token and a channel. */
#include "host.cuh"

struct conv {
    struct rows x, w; /* [T, C], [C, K] */
    struct seqs seqs;
    uint32_t K;
    const float *state; /* [slots, K - 1, C], or NULL */
    int64_t slots, slot_stride, row_stride;

    BR_INLINE float weight(uint32_t ch, uint32_t j) const
    {
        return w.read(w.at(ch) + j);
    }
    /* The state that a sequence goes on from, or NULL. */
    BR_INLINE const float *old_of(const struct seq &s) const
    {
        const bool has = state && s.nk > s.nq && s.slot >= 0 && s.slot < slots;
        return has ? state + s.slot * slot_stride : nullptr;
    }
    /* Channel ch of token t of a sequence, which may lie before its first. */
    BR_INLINE float at(const struct seq &s, const float *old, int64_t t, uint32_t ch) const
    {
        if (t >= 0)
            return x.read(x.at((uint32_t)(s.q0 + t)) + ch);
        return old ? old[((int64_t)K - 1 + t) * row_stride + ch] : 0.f;
    }
    /* The convolution at token t: the last tap first, as the CPU adds them. */
    BR_INLINE float sum(const struct seq &s, const float *old, int64_t t, uint32_t ch) const
    {
        float z = at(s, old, t, ch) * weight(ch, K - 1);
        for (int j = (int)K - 2; j >= 0; j--)
            z = fmaf(at(s, old, t - ((int64_t)K - 1 - j), ch), weight(ch, (uint32_t)j), z);
        return z;
    }
};

static struct conv conv_of(const struct br_call *c, bool has_state)
{
    struct conv v;
    v.x = rows_of(&c->in[0]);
    v.w = rows_of(&c->in[1]);
    v.seqs = seqs_of(&c->in[2]);
    v.K = v.w.cols;
    v.state = has_state ? (const float *)c->in[3].data : nullptr;
    v.slots = has_state ? c->in[3].shape[0] : 0;
    v.slot_stride = has_state ? c->in[3].stride[0] : 0;
    v.row_stride = has_state ? c->in[3].stride[1] : 0;
    return v;
}

BR_KERNEL(256, 1) conv_silu(struct rows o, struct conv v)
{
    FOR_EACH_ROW(t, o.count)
    {
        struct seq s;
        const bool owned = seq_of(v.seqs, t, o.count, INT64_MAX, &s);
        const int64_t to = o.at(t);
        FOR_EACH_UNIT(ch, o.cols)
        {
            float z = owned ? v.sum(s, v.old_of(s), t - s.q0, ch) : 0.f;
            o.write(to + ch, z * sigmoid_of(z));
        }
    }
}

/* The last K - 1 tokens are what the next run begins with.  A thread has a channel of a sequence;
 * rows move up from the first, so none is overwritten before it is read. */
BR_KERNEL(256, 1) keep_state(float *state, struct conv v, int64_t T)
{
    FOR_EACH_ROW(i, (uint32_t)v.seqs.n)
    {
        struct seq s;
        const bool keeps =
            seq_at(v.seqs, (int)i, T, INT64_MAX, &s) && s.slot >= 0 && s.slot < v.slots;
        const float *old = keeps ? v.old_of(s) : nullptr;
        FOR_EACH_UNIT(ch, v.x.cols)
        {
            for (int64_t r = 0; keeps && r < (int64_t)v.K - 1; r++)
                state[s.slot * v.slot_stride + r * v.row_stride + ch] =
                    v.at(s, old, s.nq - ((int64_t)v.K - 1) + r, ch);
        }
    }
}

ROW_FUNCTION(conv1d_silu)
{
    struct rows o = rows_of(c->out);
    struct conv v = conv_of(c, c->n_in > 3);
    struct cover k = cover_rows(o.count, o.cols);
    BR_LAUNCH(c, conv_silu, k.grid, k.block, 0, o, v);
    if (!v.state)
        return;
    k = cover_rows(v.seqs.n, o.cols);
    BR_LAUNCH(c, keep_state, k.grid, k.block, 0, (float *)c->in[3].data, v, (int64_t)o.count);
}

/* ---- gradients ------------------------------------------------------------------------------- */

/* y silu'(z): the gradient of the sum at token t. */
BR_INLINE float conv_dz(const struct conv &v, const struct seq &s, const struct rows &y, int64_t t,
                        uint32_t ch)
{
    const float z = v.sum(s, nullptr, t, ch), g = sigmoid_of(z);
    return y.read(y.at((uint32_t)(s.q0 + t)) + ch) * fmaf(z * g, 1.f - g, g);
}

/* dx[t] = the sum over j of dz[t + K - 1 - j] w[j] */
BR_KERNEL(256, 1) conv_dx(struct rows o, struct conv v, struct rows y)
{
    FOR_EACH_ROW(t, o.count)
    {
        struct seq s;
        const bool owned = seq_of(v.seqs, t, o.count, INT64_MAX, &s);
        const int64_t to = o.at(t), own = owned ? t - s.q0 : 0;
        FOR_EACH_UNIT(ch, o.cols)
        {
            float sum = 0;
            for (uint32_t j = 0; owned && j < v.K; j++) {
                const int64_t later = own + (int64_t)v.K - 1 - j;
                if (later < s.nq)
                    sum = fmaf(conv_dz(v, s, y, later, ch), v.weight(ch, j), sum);
            }
            o.write(to + ch, sum);
        }
    }
}

ROW_FUNCTION(conv1d_silu_dx)
{
    struct rows o = rows_of(c->out);
    struct cover k = cover_rows(o.count, o.cols);
    BR_LAUNCH(c, conv_dx, k.grid, k.block, 0, o, conv_of(c, false), rows_of(&c->in[3]));
}

#define DW_TOKENS 64 /* of a partial sum */

/* parts[p, ch, j] = the sum over DW_TOKENS tokens of dz[t, ch] x[t - (K - 1 - j), ch] */
BR_KERNEL(256, 1) conv_dw_parts(float *parts, struct conv v, struct rows y)
{
    const uint32_t n_parts = (uint32_t)div_up(v.x.count, DW_TOKENS);
    FOR_EACH_ROW(p, n_parts)
    {
        FOR_EACH_UNIT(ch, v.x.cols)
        {
            float *sum = parts + ((int64_t)p * v.x.cols + ch) * v.K;
            const uint32_t end = (uint32_t)min_of(v.x.count, (int64_t)(p + 1) * DW_TOKENS);
            struct seq s = {0, 0, 0, 0, 0};
            for (uint32_t j = 0; j < v.K; j++)
                sum[j] = 0;
            for (uint32_t t = p * DW_TOKENS; t < end; t++) {
                const bool same = t >= s.q0 && t < s.q0 + s.nq;
                if (!same && !seq_of(v.seqs, t, v.x.count, INT64_MAX, &s)) {
                    s.nq = 0;
                    continue;
                }
                const float dz = conv_dz(v, s, y, t - s.q0, ch);
                for (uint32_t j = 0; j < v.K; j++)
                    sum[j] =
                        fmaf(dz, v.at(s, nullptr, t - s.q0 - ((int64_t)v.K - 1 - j), ch), sum[j]);
            }
        }
    }
}

BR_KERNEL(256, 1) conv_dw_add(struct rows o, const float *parts, uint32_t n_parts)
{
    FOR_EACH_ROW(ch, o.count)
    {
        FOR_EACH_UNIT(j, o.cols)
        {
            float sum = 0;
            for (uint32_t p = 0; p < n_parts; p++)
                sum += parts[((int64_t)p * o.count + ch) * o.cols + j];
            o.write(o.at(ch) + j, sum);
        }
    }
}

SCRATCH_FUNCTION(conv1d_silu_dw)
{
    struct rows x = rows_of(&c->in[0]), o = rows_of(c->out);
    return (size_t)div_up(x.count, DW_TOKENS) * o.count * o.cols * sizeof(float);
}

ROW_FUNCTION(conv1d_silu_dw)
{
    struct rows o = rows_of(c->out);
    struct conv v = conv_of(c, false);
    const uint32_t n_parts = (uint32_t)div_up(v.x.count, DW_TOKENS);
    float *parts = (float *)c->scratch;
    struct cover k = cover_rows(n_parts, v.x.cols);
    BR_LAUNCH(c, conv_dw_parts, k.grid, k.block, 0, parts, v, rows_of(&c->in[3]));
    k = cover_rows(o.count, o.cols);
    BR_LAUNCH(c, conv_dw_add, k.grid, k.block, 0, o, (const float *)parts, n_parts);
}
