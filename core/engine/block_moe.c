/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* block_moe.c - routed experts: router, dispatch, grouped products, combination, shared expert.
 *
 * The router sees every token of the rank.  With expert parallelism the tokens of the ranks that
 * share the experts are gathered, each rank computes what its experts (or its share of their
 * channels, ETP) contribute, and the sums are scattered back: Megatron's "allgather" dispatcher.
 * Tensor-parallel ranks hold the same tokens, so first each takes its own share of them. */
#include "build.h"

struct world { /* how the experts are shared */
    uint32_t tp, tp_rank, ep, ep_rank, etp, etp_rank;
    uint32_t size, rank; /* of the group ep x etp */
};

static struct world world_of(const struct br_graph *g)
{
    const struct br__rank_info *p = g->build->info;
    struct world w = {.tp = br__tp(g),
                      .tp_rank = br__tp_rank(g),
                      .ep = p->topo.size[BR_AXIS_EP],
                      .ep_rank = br_topo_coord(&p->topo, p->rank, BR_AXIS_EP),
                      .etp = p->topo.size[BR_AXIS_ETP],
                      .etp_rank = br_topo_coord(&p->topo, p->rank, BR_AXIS_ETP)};
    if (br__sequence_parallel(g)) { /* its rows are a share already */
        w.tp = 1;
        w.tp_rank = 0;
    }
    w.size = w.ep * w.etp;
    w.rank = w.ep_rank * w.etp + w.etp_rank;
    return w;
}

/* ---- routing --------------------------------------------------------------------------------- */

static br_val given_routes(struct br_graph *g, int64_t topk)
{
    struct br__build *b = g->build;
    const int64_t shape[2] = {b->n_tokens, topk};
    return br__leaf(g, BR_OP_INPUT, BR_I32, br__arena_printf(&g->arena, "routes.%d", b->layer), 2,
                    shape);
}

/* Sums for the load-balancing loss over all layers (Fedus et al. 2021, transformers
 * load_balancing_loss_func). */
static void count_load(struct br_graph *g, br_val probs, br_val idx, int64_t n_experts)
{
    struct br__build *b = g->build;
    br_val counts = BR__OP(g, COUNT_COLS, BR__I(n_experts), idx);
    br_val sums = BR__OP(g, SUM_ROWS, NULL, probs);
    b->aux_counts = b->n_moe ? BR__OP(g, ADD, NULL, b->aux_counts, counts) : counts;
    b->aux_probs = b->n_moe ? BR__OP(g, ADD, NULL, b->aux_probs, sums) : sums;
    b->n_moe++;
}

/* Chosen experts idx[T, k] and their shares p[T, k].  Renormalising the chosen probabilities is a
 * softmax over the chosen logits. */
static void moe_route(struct br_graph *g, br_val x, br_val *idx, br_val *p)
{
    struct br__build *b = g->build;
    int64_t topk = br_cfg_i(b->cfg, BR_CFG_MOE_ROUTER_TOPK);
    /* Megatron's moe_router_dtype: its products, and the shares that it hands out. */
    int half = b->losses && g->values && b->losses->o->router_dtype != BR_F32;
    br_val logits = br__router(g, x, half ? g->values : BR_F32);
    *idx = b->flags & BR__BUILD_ROUTES_GIVEN ? given_routes(g, topk)
                                             : BR__OP(g, TOPK, BR__I(topk), logits);
    br_val probs = BR__OP(g, SOFTMAX, NULL, logits);
    *p = br_cfg_i(b->cfg, BR_CFG_MOE_ROUTER_PRE_SOFTMAX)
             ? BR__OP(g, GATHER_COLS, NULL, probs, *idx)
             : BR__OP(g, SOFTMAX, NULL, BR__OP(g, GATHER_COLS, NULL, logits, *idx));
    if (half)
        *p = BR__OP(g, CAST, BR__I(BR_F32), BR__OP(g, CAST, BR__I(g->values), *p));
    if (b->losses) {
        br__moe_loss(g, logits, probs, *idx);
    } else if (b->layer < b->cfg->n_layers) {
        b->routes[b->layer] = *idx;
        count_load(g, probs, *idx, b->cfg->n_experts);
    }
}

/* ---- tokens to experts and back -------------------------------------------------------------- */

/* This tensor-parallel rank's share of the rows. */
static br_val own_rows(struct br_graph *g, const struct world *w, br_val x)
{
    int64_t rows = br__node(g, x)->shape[0] / w->tp;
    int branch = br__node(g, x)->dtype == BR_F32;
    return w->tp == 1 ? x
                      : br__slice(g, branch ? br__enter_tp(g, x) : x, 0, rows * w->tp_rank, rows);
}

static br_val moe_gather(struct br_graph *g, const struct world *w, br_val x)
{
    return w->size == 1 ? x : BR__OP(g, ALL_GATHER, BR__I(BR_GROUP_EP_ETP, 0, w->size, w->rank), x);
}

static br_val moe_scatter(struct br_graph *g, const struct world *w, br_val x)
{
    if (w->size > 1)
        x = BR__OP(g, REDUCE_SCATTER, BR__I(BR_GROUP_EP_ETP, 0, w->size, w->rank), x);
    return w->tp == 1 ? x : BR__OP(g, ALL_GATHER, BR__I(BR_GROUP_TP, 1, w->tp, w->tp_rank), x);
}

#define FC1 "mlp.experts.experts.linear_fc1.weight"
#define FC2 "mlp.experts.experts.linear_fc2.weight"

/* Training rounds where Megatron does, which multiplies a row by its share before the last product
 * and not after it: y[R, n] times the shares, which from here on are 1. */
static br_val share_early(struct br_graph *g, br_val y, br_val order, br_val *p)
{
    int64_t t = br__node(g, *p)->shape[0], k = br__node(g, *p)->shape[1];
    float *ones = br__arena_alloc(&g->arena, (size_t)k * sizeof *ones);
    if (!ones)
        return br__graph_fail(g, BR_E_NOMEM, "out of memory for a graph");
    for (int64_t i = 0; i < k; i++)
        ones[i] = 1;
    br_val share = BR__OP(g, MOE_GATHER, BR__I(1), BR__RESHAPE(g, *p, t * k, 1), order);
    *p = BR__OP(g, FILL_ROWS, BR__I(t), br__const(g, ones, k));
    return BR__OP(g, MUL_COL, NULL, y, share);
}

/* What the local experts contribute to x[T, hidden] with choices idx and shares p. */
static br_val local_experts(struct br_graph *g, const struct world *w, br_val x, br_val idx,
                            br_val p)
{
    struct br__build *b = g->build;
    int64_t n = b->cfg->n_experts / w->ep, topk = br__node(g, idx)->shape[1];
    int64_t rows = br__node(g, idx)->shape[0] * topk;
    br_val sorted = BR__OP(g, MOE_SORT, BR__I(n * w->ep_rank, n), idx);
    br_val offsets = br__slice(g, sorted, 0, 0, n + 1);
    br_val order = br__slice(g, sorted, 0, n + 1, rows);
    struct br__experts_in in = {.x = BR__OP(g, MOE_GATHER, BR__I(topk), x, order),
                                .offsets = offsets,
                                .first = n * w->ep_rank,
                                .n = n,
                                .etp = w->etp,
                                .etp_rank = w->etp_rank};
    const struct br__items fc1 = {FC1, NULL, 2, {BR__SPLIT_ROWS, BR__SPLIT_ROWS}};
    br_val half[2]; /* gate, up */
    br__experts_linears(g, &in, &fc1, half);
    br_val from = br__module_starts(g, BR__RECOMPUTE_MOE_ACT);
    in.x = BR__OP(g, SWIGLU, NULL, half[0], half[1]);
    if (b->losses)
        in.x = share_early(g, in.x, order, &p);
    br__module_ends(g, from, 1);
    br_val y = br__experts_linear(g, &in, FC2, 0, BR__SPLIT_COLS);
    return BR__OP(g, MOE_COMBINE, NULL, y, p, order);
}

static br_val shared_expert(struct br_graph *g, br_val x)
{
    br_val y = br_gated_mlp(g, x, "mlp.shared_experts.");
    if (!br_cfg_i(g->build->cfg, BR_CFG_MOE_SHARED_EXPERT_GATE))
        return y;
    const struct br_attr exact = br__exact(g);
    br_val gate = BR__OP(g, MATMUL, &exact, x,
                         br__weight(g, "mlp.shared_experts.gate_weight", 0, BR__SPLIT_NONE));
    return BR__OP(g, MUL_COL, NULL, y, BR__OP(g, SIGMOID, NULL, gate));
}

br_val br_moe(struct br_graph *g, br_val x, int layer)
{
    struct world w = world_of(g);
    br_val idx, p;
    (void)layer;
    if (g->build->cfg->n_experts % w.ep)
        return br__graph_fail(g, BR_E_USAGE, "%lld experts cannot be shared by ep %u",
                              (long long)g->build->cfg->n_experts, w.ep);
    if (g->build->n_tokens % br__tp(g))
        return br__graph_fail(g, BR_E_USAGE, "%lld tokens cannot be shared by tp %u",
                              (long long)g->build->n_tokens, br__tp(g));
    br_val from = br__module_starts(g, BR__RECOMPUTE_MOE);
    moe_route(g, x, &idx, &p);
    br_val y = local_experts(g, &w, moe_gather(g, &w, own_rows(g, &w, x)),
                             moe_gather(g, &w, own_rows(g, &w, idx)),
                             moe_gather(g, &w, own_rows(g, &w, p)));
    y = moe_scatter(g, &w, y);
    if (br_cfg_i(g->build->cfg, BR_CFG_MOE_SHARED_EXPERT_INTERMEDIATE_SIZE))
        y = BR__OP(g, ADD, NULL, y, shared_expert(g, x));
    br__module_ends(g, from, 0);
    return y;
}
