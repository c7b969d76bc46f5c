/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* delta.cuh - what the kernels of the gated delta rule share: its tensors. */
#ifndef BR__CUDA_DELTA_CUH
#define BR__CUDA_DELTA_CUH

#include "host.cuh"

struct delta {
    struct rows q, k, v, g, beta; /* [T, Hk, dk] twice, [T, Hv, dv], [T, Hv] twice */
    struct seqs seqs;
    int T, heads, group, dk, dv; /* value heads; of them to a key head */
    float scale;

    BR_INLINE int64_t key_at(const struct rows &x, int64_t t, int head) const
    {
        return x.at((uint32_t)(t * (heads / group) + head / group));
    }
    BR_INLINE int64_t value_at(const struct rows &x, int64_t t, int head) const
    {
        return x.at((uint32_t)(t * heads + head));
    }
    BR_INLINE float gate(const struct rows &x, int64_t t, int head) const
    {
        return x.read(x.at((uint32_t)t) + head);
    }
};

struct states {
    float *data; /* [slots, Hv, dk, dv], or NULL */
    int64_t slots, stride[3];
};

static inline struct states states_of(const struct br_tensor *x)
{
    return states{(float *)x->data, x->shape[0], {x->stride[0], x->stride[1], x->stride[2]}};
}

/* delta.cu: token by token; tokens of no sequence are left as they are. */
void br__cuda_delta_tokens(const struct br_call *c, const struct delta *a, struct rows o,
                           struct states all);

/* Where the gradients of token t lie: dq and dk of a value head apart, since heads of a group are
 * added later. */
struct delta_grads {
    float *q, *k; /* [T, Hv, dk] in scratch */
    struct rows out;

    /* dv of a head; dg of a head, and a.heads further dbeta. */
    BR_INLINE int64_t v_at(const struct delta &a, int64_t t, int head) const
    {
        return out.at((uint32_t)t) + 2 * (a.heads / a.group) * a.dk + head * a.dv;
    }
    BR_INLINE int64_t g_at(const struct delta &a, int64_t t, int head) const
    {
        return v_at(a, t, a.heads) + head;
    }
};

/* delta_chunk.cu: the same by tensor cores, where shapes and dtypes suit it. */
bool br__cuda_delta_suits_chunks(const struct delta *a, const struct rows *o);
size_t br__cuda_delta_chunks_scratch(const struct delta *a);
void br__cuda_delta_chunks(const struct br_call *c, const struct delta *a, struct states all);

/* delta_chunk_grad.cu: the gradient; y: of the result.  What it writes of q and k are sums for
 * delta.cu to add. */
bool br__cuda_delta_back_suits_chunks(const struct delta *a, const struct rows *y);
size_t br__cuda_delta_back_chunks_scratch(const struct delta *a);
void br__cuda_delta_back_chunks(const struct br_call *c, const struct delta *a,
                                const struct delta_grads *out, void *scratch);

#endif
