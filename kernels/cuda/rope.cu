/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* rope.cu - rotary embedding. */
#include "rope.cuh"

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
