/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* rope.cu - rotary embedding. */
#include "host.cuh"

/* cos and sin of an angle times `by`.  It is reduced to [-pi, pi] in double; cos and sin of its
 * half are their Taylor series (next term below 7e-10), and of the whole by the double-angle
 * formulas: the CPU's own way, off by at most about 3e-7, without the tables of sincosf. */
BR_INLINE void turn_of(float angle, float by, float *cosine, float *sine)
{
    const double turns = rint((double)angle * 0.15915494309189535);
    const float h = (float)(0.5 * (double)angle - turns * 3.141592653589793), h2 = h * h;
    float s = 1.f / 6227020800.f;
    s = fmaf(s, h2, -1.f / 39916800);
    s = fmaf(s, h2, 1.f / 362880);
    s = fmaf(s, h2, -1.f / 5040);
    s = fmaf(s, h2, 1.f / 120);
    s = fmaf(s, h2, -1.f / 6);
    s = fmaf(s * h2, h, h);
    float q = -1.f / 87178291200.f;
    q = fmaf(q, h2, 1.f / 479001600);
    q = fmaf(q, h2, -1.f / 3628800);
    q = fmaf(q, h2, 1.f / 40320);
    q = fmaf(q, h2, -1.f / 720);
    q = fmaf(q, h2, 1.f / 24);
    q = fmaf(q, h2, -0.5f);
    q = fmaf(q, h2, 1.f);
    const float twice = 2 * by * s;
    *sine = twice * q;
    *cosine = by - twice * s;
}

/* x[T, H, d] as rows of heads.  Channels c and c + m of a head turn by the angle
 * position * inv_freq[c], a float32 product as transformers forms it; the rest passes.  A thread
 * has a pair of channels of a token and goes over the heads. */
BR_KERNEL(256, 1)
turn_heads(struct rows o, struct rows x, const int32_t *positions, struct rows inv_freq,
           uint32_t heads, uint32_t m, float by, float sign)
{
    const uint32_t T = x.count / heads;
    FOR_EACH_ROW(t, T)
    {
        FOR_EACH_UNIT(i, m)
        {
            float k, s;
            turn_of((float)positions[t] * inv_freq.read(i), by, &k, &s);
            s *= sign;
            for (uint32_t h = 0; h < heads; h++) {
                const int64_t at = x.at(t * heads + h) + i, to = o.at(t * heads + h) + i;
                const float a = x.read(at), b = x.read(at + m);
                o.write(to, a * k - b * s);
                o.write(to + m, b * k + a * s);
            }
        }
    }
}

/* Channels from 2 m on. */
BR_KERNEL(256, 1) pass_channels(struct rows o, struct rows x, uint32_t first)
{
    FOR_EACH_ROW(r, o.count)
    {
        const int64_t at = x.at(r) + first, to = o.at(r) + first;
        FOR_EACH_UNIT(i, o.cols - first)
        {
            o.write(to + i, x.read(at + i));
        }
    }
}

ROW_FUNCTION(rope)
{
    struct rows o = rows_of(c->out), x = rows_of(&c->in[0]), inv_freq = rows_of(&c->in[2]);
    const uint32_t m = (uint32_t)min_of(inv_freq.cols, x.cols / 2);
    const uint32_t heads = (uint32_t)c->in[0].shape[1];
    struct cover k = cover_rows(x.count / heads, m);
    BR_LAUNCH(c, turn_heads, k.grid, k.block, 0, o, x, (const int32_t *)c->in[1].data, inv_freq,
              heads, m, (float)c->attr.f[0], c->attr.i[0] ? -1.f : 1.f);
    if (2 * m == x.cols)
        return;
    k = cover_rows(x.count, x.cols - 2 * m);
    BR_LAUNCH(c, pass_channels, k.grid, k.block, 0, o, x, 2 * m);
}
