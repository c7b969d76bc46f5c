/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* heads.cu - HEADS: what lies between the products of a layer and its attention: the norms of heads
 * of queries and keys, their rotation, and the writes to the caches.
 *
 * A warp has a head of a token.  It reads its channels three times, from the cache next to it after
 * the first. */
#include "norm.cuh"
#include "rope.cuh"

#define WARPS 8 /* of a block */

struct cache {
    void *data;
    uint32_t dtype;
    int64_t row, head; /* elements from one to the next */
};

struct heads {
    const void *y;
    void *q; /* [T, Hq, d], as y is kept */
    uint32_t dtype;
    int64_t stride; /* of y's rows */
    struct cache keys, values;
    const int32_t *positions, *rows;
    struct rows inv_freq, norm[2]; /* of q, of k */
    int64_t S;
    int T, hq, hk, d, m, step; /* step: from a head of q to the next */
    bool has_norm;
    float base, eps, by;
};

/* A head on its way: where it comes from, where it goes. */
struct head {
    struct rows x; /* its channels, as a row */
    void *to;
    uint32_t dtype;
    int64_t at;
};

/* Channel i as the norm leaves it. */
BR_INLINE float normed(const struct heads &a, const struct head &h, const struct rows &w, float inv,
                       int i)
{
    const float v = h.x.read(i);
    return a.has_norm ? as_kept(v * inv * (a.base + w.read(i)), a.dtype) : v;
}

BR_INLINE void put(const struct heads &a, const struct head &h, int i, float v)
{
    write_f32(h.to, h.dtype, h.at + i, as_kept(v, a.dtype));
}

/* A head of queries or keys at that position. */
BR_INLINE void turn_head(const struct heads &a, const struct head &h, const struct rows &w,
                         int32_t position)
{
    const int lane = (int)threadIdx.x % 32;
    const float inv = a.has_norm ? inv_rms<1>(h.x, 0, a.eps) : 1.f;
    for (int i = lane; i < a.m; i += 32) {
        float k, s;
        turn_of((float)position * a.inv_freq.read(i), a.by, &k, &s);
        const float x = normed(a, h, w, inv, i), y = normed(a, h, w, inv, i + a.m);
        put(a, h, i, x * k - y * s);
        put(a, h, i + a.m, y * k + x * s);
    }
    for (int i = 2 * a.m + lane; i < a.d; i += 32)
        put(a, h, i, normed(a, h, w, inv, i));
}

BR_INLINE void copy_head(const struct heads &a, const struct head &h)
{
    for (int i = (int)threadIdx.x % 32; i < a.d; i += 32)
        put(a, h, i, h.x.read(i));
}

BR_KERNEL(32 * WARPS, 1) prepare_heads(struct heads a)
{
    const int each = a.hq + 2 * a.hk;
    gpu_launch_next();
    gpu_wait_previous();
    const int64_t keys = (int64_t)a.hq * a.step, warps = (int64_t)a.T * each;
    for (int64_t w = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32; w < warps;
         w += (int64_t)gridDim.x * WARPS) {
        const int64_t t = w / each;
        const int n = (int)(w % each), of = n - a.hq; /* of < 0: a head of q */
        const int64_t from = of < 0 ? (int64_t)n * a.step : keys + (int64_t)of * a.d;
        struct head h;
        h.x = {(char *)a.y + (t * a.stride + from) * (a.dtype == BR_F32 ? 4 : 2),
               {0, 0, 0},
               {1, 1, 1},
               1,
               (uint32_t)a.d,
               a.dtype};
        if (of < 0) {
            h.to = a.q;
            h.dtype = a.dtype;
            h.at = (t * a.hq + n) * a.d;
            turn_head(a, h, a.norm[0], a.positions[t]);
            continue;
        }
        const int64_t row = a.rows[t];
        if (row < 0 || row >= a.S)
            continue; /* no row of the cache */
        const struct cache &to = of < a.hk ? a.keys : a.values;
        h.to = to.data;
        h.dtype = to.dtype;
        h.at = row * to.row + of % a.hk * to.head;
        if (of < a.hk)
            turn_head(a, h, a.norm[1], a.positions[t]);
        else
            copy_head(a, h);
    }
}

static struct cache cache_of(const struct br_tensor *t)
{
    return {t->data, t->dtype, t->stride[0], t->stride[1]};
}

ROW_FUNCTION(heads)
{
    const struct br_tensor *y = &c->in[0], *keys = &c->in[3];
    struct heads a = {};
    a.y = y->data;
    a.q = c->out->data;
    a.dtype = y->dtype;
    a.stride = y->stride[0];
    a.keys = cache_of(keys);
    a.values = cache_of(&c->in[4]);
    a.positions = (const int32_t *)c->in[1].data;
    a.rows = (const int32_t *)c->in[5].data;
    a.inv_freq = rows_of(&c->in[2]);
    a.S = keys->shape[0];
    a.T = (int)y->shape[0];
    a.hq = (int)c->attr.i[0];
    a.hk = (int)keys->shape[1];
    a.d = (int)keys->shape[2];
    a.m = (int)a.inv_freq.cols;
    a.step = c->attr.i[1] ? 2 * a.d : a.d;
    a.has_norm = c->n_in > 6;
    for (int i = 0; i < 2 && a.has_norm; i++)
        a.norm[i] = rows_of(&c->in[6 + i]);
    a.base = c->attr.i[2] ? 1.f : 0.f;
    a.eps = (float)c->attr.f[0];
    a.by = (float)c->attr.f[1];
    const int64_t warps = (int64_t)a.T * (a.hq + 2 * a.hk);
    BR_LAUNCH_EARLY(c, prepare_heads, (unsigned)min_of(div_up(warps, WARPS), MAX_GRID_X),
                    32 * WARPS, 0, a);
}
