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

/* The convolution's weights of channels [from, from + n), on values x. */
static br_val convolve_some(struct br_graph *g, br_val w, br_val x, int64_t from)
{
    int64_t n = br__node(g, x)->shape[1];
    return BR__OP(g, CONV1D_SILU, NULL, x, br__slice(g, w, 0, from, n), g->build->whole_seqs);
}

/* What the delta rule reads: columns of its own, [T, heads * d] or [T, heads]. */
struct inputs {
    br_val q, k, v, beta, a;
};

/* With context parallelism ranks share the heads in place of the rows: x[T / cp, ...] of all heads
 * becomes [T, ...] of some, in the order of the sequences. */
static struct inputs to_heads(struct br_graph *g, const struct inputs *in)
{
    const br_val all[] = {in->q, in->k, in->v, in->beta, in->a};
    int64_t cp = br__cp(g), at = 0, n[BR_COUNTOF(all)];
    br_val x[BR_COUNTOF(all)];
    for (size_t i = 0; i < BR_COUNTOF(all); i++) {
        x[i] = BR__OP(g, DEINTERLEAVE, BR__I(cp), all[i]);
        n[i] = br__node(g, x[i])->shape[1];
    }
    br_val y = BR__OP(g, CONCAT, NULL, x[0], x[1], x[2], x[3], x[4]);
    y = BR__OP(g, ALL_TO_ALL, BR__I(BR_GROUP_CP, 0, cp, br__cp_rank(g)), y);
    y = BR__OP(g, GATHER_ROWS, NULL, y, g->build->order);
    for (size_t i = 0; i < BR_COUNTOF(all); at += n[i++])
        x[i] = br__slice(g, y, 1, at, n[i]);
    return (struct inputs){x[0], x[1], x[2], x[3], x[4]};
}

/* And back: o[T, some heads, d] to [T / cp, heads * d]. */
static br_val to_rows(struct br_graph *g, br_val o)
{
    const struct br__node n = *br__node(g, o);
    int64_t cp = br__cp(g);
    o = BR__RESHAPE(g, o, n.shape[0], n.shape[1] * n.shape[2]);
    o = BR__OP(g, GATHER_ROWS, NULL, o, g->build->back);
    o = BR__OP(g, ALL_TO_ALL, BR__I(BR_GROUP_CP, 0, cp, br__cp_rank(g)), o);
    return BR__OP(g, INTERLEAVE, BR__I(cp), o);
}

/* Columns as heads of d channels, each of length 1. */
static br_val unit(struct br_graph *g, br_val x, int64_t d)
{
    int64_t t = br__node(g, x)->shape[0], heads = br__node(g, x)->shape[1] / d;
    return BR__OP(g, L2NORM, BR__F(QK_NORM_EPS), BR__RESHAPE(g, x, t, heads, d));
}

/* The convolution and the delta rule over whole sequences, of this rank's heads. */
static br_val recur_whole(struct br_graph *g, const struct dims *d, const struct inputs *local)
{
    int64_t cp = br__cp(g), keys = d->key_heads / cp * d->dk, heads = d->value_heads / cp;
    int64_t first = heads * br__cp_rank(g), t = d->t * cp;
    if (d->key_heads % cp)
        return br__graph_fail(g, BR_E_USAGE,
                              "linear_num_key_heads %lld of a rank cannot be shared by cp %lld",
                              (long long)d->key_heads, (long long)cp);
    struct inputs in = to_heads(g, local);
    br_val w = br__weight(g, "self_attention.conv1d.weight.query", 0, BR__SPLIT_CONV);
    int64_t k_from = d->key_heads * d->dk, v_from = 2 * k_from;
    br_val q = unit(g, convolve_some(g, w, in.q, keys * br__cp_rank(g)), d->dk);
    br_val k = unit(g, convolve_some(g, w, in.k, k_from + keys * br__cp_rank(g)), d->dk);
    br_val v = BR__RESHAPE(g, convolve_some(g, w, in.v, v_from + first * d->dv), t, heads, d->dv);
    br_val a_log = br__weight(g, "self_attention.A_log", 0, BR__SPLIT_ROWS);
    br_val bias = br__weight(g, "self_attention.dt_bias", 0, BR__SPLIT_ROWS);
    br_val decay = BR__OP(g, GDN_DECAY, NULL, in.a, br__slice(g, a_log, 0, first, heads),
                          br__slice(g, bias, 0, first, heads));
    return to_rows(g, BR__OP(g, DELTA_RULE, BR__F(1.0 / sqrt((double)d->dk)), q, k, v, decay,
                             BR__OP(g, SIGMOID, NULL, in.beta), g->build->whole_seqs));
}

/* The same where this rank has all rows: [T, heads, d]. */
static br_val recur_own(struct br_graph *g, const struct dims *d, br_val qkv, br_val beta, br_val a)
{
    qkv = gdn_convolve(g, qkv);
    int64_t keys = d->key_heads * d->dk;
    br_val q = unit_heads(g, qkv, 0, d->key_heads, d->dk);
    br_val k = unit_heads(g, qkv, keys, d->key_heads, d->dk);
    br_val v = BR__RESHAPE(g, br__slice(g, qkv, 1, 2 * keys, d->value_heads * d->dv), d->t,
                           d->value_heads, d->dv);
    br_val decay =
        BR__OP(g, GDN_DECAY, NULL, a, br__weight(g, "self_attention.A_log", 0, BR__SPLIT_ROWS),
               br__weight(g, "self_attention.dt_bias", 0, BR__SPLIT_ROWS));
    return gdn_recur(g, d, q, k, v, decay, BR__OP(g, SIGMOID, NULL, beta));
}

br_val br_gated_delta_net(struct br_graph *g, br_val x, int layer)
{
    struct dims d = dims_of(g);
    (void)layer;
    x = br__enter_tp(g, x);
    const struct br__items in_proj = {
        "self_attention.in_proj.weight.query", NULL, 2, {BR__SPLIT_ROWS, BR__SPLIT_ROWS}};
    br_val in[2];
    br__linears(g, x, &in_proj, in);
    br_val qkvz = BR__RESHAPE(g, in[0], d.t, d.key_heads, 2 * d.dk + 2 * d.per * d.dv);
    br_val ba = BR__RESHAPE(g, in[1], d.t, d.key_heads, 2 * d.per);
    br_val z =
        BR__OP(g, CONCAT, NULL, br__slice(g, qkvz, 2, 2 * d.dk + d.per * d.dv, d.per * d.dv));
    br_val beta = BR__OP(g, CONCAT, NULL, br__slice(g, ba, 2, 0, d.per));
    br_val a = BR__OP(g, CONCAT, NULL, br__slice(g, ba, 2, d.per, d.per)), o;
    br_val q = br__slice(g, qkvz, 2, 0, d.dk), k = br__slice(g, qkvz, 2, d.dk, d.dk);
    br_val v = br__slice(g, qkvz, 2, 2 * d.dk, d.per * d.dv);
    if (br__cp(g) > 1)
        o = recur_whole(g, &d,
                        &(struct inputs){BR__OP(g, CONCAT, NULL, q), BR__OP(g, CONCAT, NULL, k),
                                         BR__OP(g, CONCAT, NULL, v), beta, a});
    else
        o = recur_own(g, &d, BR__OP(g, CONCAT, NULL, q, k, v), beta, a);
    o = BR__RESHAPE(g, o, d.t, d.value_heads, d.dv);
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
