/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* attention.cuh - what the kernels of attention share: its tensors, and who sees what. */
#ifndef BR__CUDA_ATTENTION_H
#define BR__CUDA_ATTENTION_H

#include "host.cuh"

struct attention {
    struct rows q, k, v; /* [T, Hq, d], [S, Hk, d] twice */
    struct seqs seqs;
    int T, S, heads, group, d, parts;
    int64_t window;
    float scale;
    bool is_wide; /* rows can be read 8 elements at a time */

    BR_INLINE int64_t key_at(const struct rows &x, int64_t s, int head) const
    {
        return x.at((uint32_t)(s * (heads / group) + head));
    }
    BR_INLINE int64_t query_at(const struct rows &x, int64_t t, int head) const
    {
        return x.at((uint32_t)(t * heads + head));
    }
};

/* The first key that the query at position `own` of its sequence sees; it is the last. */
BR_INLINE int64_t first_key(const struct attention &a, int64_t own)
{
    return a.window > 0 ? max_of(own - a.window + 1, 0) : 0;
}

/* attention.cu: the same by tensor cores, where shapes and dtypes suit it.  log_sum: [T, heads]
 * with rows log_stride apart, or NULL. */
bool br__cuda_suits_tiles(const struct attention *a);
void br__cuda_attend_tiles(const struct br_call *c, const struct attention *a, struct rows out,
                           float *log_sum, int64_t log_stride);

/* ---- gradient -------------------------------------------------------------------------------- */

struct back {
    struct attention a;
    struct rows y, o, out; /* [T, Hq, d] twice; [T, Hq d + 2 Hk d] = dq, dk, dv */
    const float *log_sum;  /* [T, heads] */
    int64_t log_stride;
    float *along;    /* [T, heads]: dO . O */
    bool is_wide_qy; /* q and y can be read 8 elements at a time */

    BR_INLINE int64_t out_at(int64_t t, int head) const
    {
        return out.at((uint32_t)t) + (int64_t)head * a.d;
    }
};

/* attention_grad.cu: the same by tensor cores, once `along` is there. */
bool br__cuda_back_suits_tiles(const struct back *b);
void br__cuda_back_tiles(const struct br_call *c, const struct back *b);

#endif
