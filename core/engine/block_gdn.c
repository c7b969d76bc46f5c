/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* block_gdn.c - the gated delta net (Yang et al. 2024) as Qwen3-Next uses it.
 *
 * Hugging Face's in_proj_qkvz has, per key head, [query | key | its values | their gates z], and
 * in_proj_ba [its betas | their decays a]; a rank owns whole key heads, so its share is a run of
 * rows.  Source: transformers modeling_qwen3_next.py, Qwen3NextGatedDeltaNet. */
#include "build.h"
#include <math.h>

#define QK_NORM_EPS 1e-6

struct dims {                                       /* of this rank */
    int64_t t, key_heads, value_heads, dk, dv, per; /* per: value heads of a key head */
};

static struct dims dims_of(const struct br_graph *g)
{
    const struct br_config *cfg = g->build->cfg;
    struct dims d = {.t = g->build->n_tokens,
                     .key_heads = br_cfg_i(cfg, BR_CFG_LINEAR_NUM_KEY_HEADS) / br__tp(g),
                     .value_heads = br_cfg_i(cfg, BR_CFG_LINEAR_NUM_VALUE_HEADS) / br__tp(g),
                     .dk = br_cfg_i(cfg, BR_CFG_LINEAR_KEY_HEAD_DIM),
                     .dv = br_cfg_i(cfg, BR_CFG_LINEAR_VALUE_HEAD_DIM)};
    d.per = d.key_heads ? d.value_heads / d.key_heads : 0;
    return d;
}

/* qkv[T, channels] through the causal convolution, with its tail of earlier tokens if cached. */
static br_val gdn_convolve(struct br_graph *g, br_val qkv)
{
    struct br__build *b = g->build;
    br_val w = br__weight(g, "self_attention.conv1d.weight.query", 0, BR__SPLIT_CONV);
    if (!(b->flags & BR__BUILD_CACHE))
        return BR__OP(g, CONV1D_SILU, NULL, qkv, w, b->seqs);
    const int64_t shape[3] = {b->slots, br__node(g, w)->shape[1] - 1, br__node(g, qkv)->shape[1]};
    return BR__OP(g, CONV1D_SILU, NULL, qkv, w, b->seqs, br__state(g, "conv", BR_F32, 3, shape));
}

static br_val gdn_recur(struct br_graph *g, const struct dims *d, br_val q, br_val k, br_val v,
                        br_val decay, br_val beta)
{
    struct br__build *b = g->build;
    const struct br_attr *attr = BR__F(1.0 / sqrt((double)d->dk));
    if (!(b->flags & BR__BUILD_CACHE))
        return BR__OP(g, DELTA_RULE, attr, q, k, v, decay, beta, b->seqs);
    const int64_t shape[4] = {b->slots, d->value_heads, d->dk, d->dv};
    return BR__OP(g, DELTA_RULE, attr, q, k, v, decay, beta, b->seqs,
                  br__state(g, "delta", BR_F32, 4, shape));
}

/* Columns [from, from + n) of qkv[T, channels] as heads of d channels, each of length 1. */
static br_val unit_heads(struct br_graph *g, br_val qkv, int64_t from, int64_t heads, int64_t d)
{
    br_val x = br__slice(g, qkv, 1, from, heads * d);
    return BR__OP(g, L2NORM, BR__F(QK_NORM_EPS), BR__RESHAPE(g, x, g->build->n_tokens, heads, d));
}

br_val br_gated_delta_net(struct br_graph *g, br_val x, int layer)
{
    struct dims d = dims_of(g);
    (void)layer;
    x = br__enter_tp(g, x);
    br_val qkvz = br__linear(g, x, "self_attention.in_proj.weight.query", 0, BR__SPLIT_ROWS, NULL);
    br_val ba = br__linear(g, x, "self_attention.in_proj.weight.query", 1, BR__SPLIT_ROWS, NULL);
    qkvz = BR__RESHAPE(g, qkvz, d.t, d.key_heads, 2 * d.dk + 2 * d.per * d.dv);
    ba = BR__RESHAPE(g, ba, d.t, d.key_heads, 2 * d.per);
    br_val z =
        BR__OP(g, CONCAT, NULL, br__slice(g, qkvz, 2, 2 * d.dk + d.per * d.dv, d.per * d.dv));
    br_val beta = BR__OP(g, CONCAT, NULL, br__slice(g, ba, 2, 0, d.per));
    br_val a = BR__OP(g, CONCAT, NULL, br__slice(g, ba, 2, d.per, d.per));
    br_val qkv =
        BR__OP(g, CONCAT, NULL, br__slice(g, qkvz, 2, 0, d.dk), br__slice(g, qkvz, 2, d.dk, d.dk),
               br__slice(g, qkvz, 2, 2 * d.dk, d.per * d.dv));
    qkv = gdn_convolve(g, qkv);
    int64_t keys = d.key_heads * d.dk;
    br_val q = unit_heads(g, qkv, 0, d.key_heads, d.dk);
    br_val k = unit_heads(g, qkv, keys, d.key_heads, d.dk);
    br_val v = BR__RESHAPE(g, br__slice(g, qkv, 1, 2 * keys, d.value_heads * d.dv), d.t,
                           d.value_heads, d.dv);
    br_val decay =
        BR__OP(g, GDN_DECAY, NULL, a, br__weight(g, "self_attention.A_log", 0, BR__SPLIT_ROWS),
               br__weight(g, "self_attention.dt_bias", 0, BR__SPLIT_ROWS));
    br_val o = gdn_recur(g, &d, q, k, v, decay, BR__OP(g, SIGMOID, NULL, beta));
    /* The output norm is stored plain on the Hugging Face side, and minus 1 where it is trained;
     * each rank's heads share it. */
    br_val w = br__weight(g, "self_attention.out_norm.weight", 0, BR__SPLIT_EACH);
    const struct br__node *leaf = br__node(g, br__node(g, w)->base);
    int minus_one = w && br__node_param(leaf)->parts[0].source->minus_one;
    const struct br_attr norm = {.i = {minus_one},
                                 .f = {br_cfg_f(g->build->cfg, BR_CFG_LAYERNORM_EPSILON)}};
    o = BR__OP(g, RMSNORM, &norm, o, w);
    o = BR__OP(g, SWIGLU, NULL, BR__RESHAPE(g, z, d.t, d.value_heads, d.dv), o);
    o = BR__RESHAPE(g, o, d.t, d.value_heads * d.dv);
    return br__leave_tp(
        g, br__linear(g, o, "self_attention.out_proj.weight", 0, BR__SPLIT_COLS, NULL));
}
