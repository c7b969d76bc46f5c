/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* block_moe.c - routed experts: router, dispatch, grouped products, combination, shared expert.
 *
 * The router sees every token of the rank.  With expert parallelism a rank sends each of its tokens
 * to the ranks that have the token's experts, once for each of these, and gets the results back:
 * Megatron's "alltoall" dispatcher.  Ranks that share the channels of experts (ETP) gather their
 * tokens before it and add their parts after it.  Tensor-parallel ranks hold the same tokens, so
 * first each takes its own share of them. */
#include "build.h"

struct world { /* how the experts are shared */
    uint32_t tp, tp_rank, ep, ep_rank, etp, etp_rank;
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
    x = own_rows(g, w, x);
    return w->etp == 1 ? x : BR__OP(g, ALL_GATHER, BR__I(BR_GROUP_ETP, 0, w->etp, w->etp_rank), x);
}

static br_val moe_scatter(struct br_graph *g, const struct world *w, br_val x)
{
    if (w->etp > 1)
        x = BR__OP(g, REDUCE_SCATTER, BR__I(BR_GROUP_ETP, 0, w->etp, w->etp_rank), x);
    return w->tp == 1 ? x : BR__OP(g, ALL_GATHER, BR__I(BR_GROUP_TP, 1, w->tp, w->tp_rank), x);
}

/* How rows come to the experts of this rank. */
struct dispatch {
    int64_t topk;
    br_val order;               /* slots of the tokens here, by expert */
    br_val route, arrived;      /* 0: their experts are all here; arrived: rows by expert */
    br_val offsets;             /* of the rows of each expert of this rank */
    struct br_attr there, back; /* of EXCHANGE */
};

static struct dispatch dispatch_of(struct br_graph *g, const struct world *w, br_val idx)
{
    int64_t experts = g->build->cfg->n_experts, n = experts / w->ep;
    int64_t t = br__node(g, idx)->shape[0], topk = br__node(g, idx)->shape[1];
    br_val sorted = BR__OP(g, MOE_SORT, BR__I(0, experts), idx);
    struct dispatch d = {.topk = topk,
                         .order = br__slice(g, sorted, 0, experts + 1, t * topk),
                         .there = {.i = {BR_GROUP_EP, 0, w->ep, w->ep_rank}}};
    if (w->ep == 1) {
        d.offsets = br__slice(g, sorted, 0, 0, experts + 1);
        return d;
    }
    /* A token has no expert twice. */
    int64_t room = t * w->ep * BR__MIN(topk, n);
    br_val sent = BR__OP(g, COUNT_COLS, BR__I(experts), idx);
    br_val got = BR__OP(g, ALL_TO_ALL, &d.there, sent);
    d.back = d.there;
    d.back.i[1] = t * topk;
    d.route = BR__OP(g, MOE_ROUTE, BR__I(BR_GROUP_EP, room, w->ep, w->ep_rank), sent, got);
    d.offsets = br__slice(g, d.route, 0, 0, n + 1);
    d.arrived = br__slice(g, d.route, 0, n + 1, room);
    return d;
}

/* Rows by expert of the tokens here become those of this rank's experts. */
static br_val to_experts(struct br_graph *g, const struct dispatch *d, br_val x)
{
    if (!d->route)
        return x;
    return BR__OP(g, MOE_GATHER, BR__I(1), BR__OP(g, EXCHANGE, &d->there, x, d->route), d->arrived);
}

static br_val from_experts(struct br_graph *g, const struct dispatch *d, br_val y)
{
    if (!d->route)
        return y;
    int64_t room = br__node(g, d->arrived)->shape[0];
    y = BR__OP(g, MOE_GATHER_GRAD, BR__I(1, room), y, d->arrived);
    return BR__OP(g, EXCHANGE, &d->back, y, d->route);
}

#define FC1 "mlp.experts.experts.linear_fc1.weight"
#define FC2 "mlp.experts.experts.linear_fc2.weight"

/* Training rounds where Megatron does, which multiplies a row by its share before the last product
 * and not after it: the shares of the experts' rows [R, 1]; from there on those of the tokens
 * are 1.
 */
static br_val share_early(struct br_graph *g, const struct dispatch *d, br_val *p)
{
    int64_t t = br__node(g, *p)->shape[0], k = d->topk;
    float *ones = br__arena_alloc(&g->arena, (size_t)k * sizeof *ones);
    if (!ones)
        return br__graph_fail(g, BR_E_NOMEM, "out of memory for a graph");
    for (int64_t i = 0; i < k; i++)
        ones[i] = 1;
    br_val share = BR__OP(g, MOE_GATHER, BR__I(1), BR__RESHAPE(g, *p, t * k, 1), d->order);
    *p = BR__OP(g, FILL_ROWS, BR__I(t), br__const(g, ones, k));
    return to_experts(g, d, share);
}

/* Numbers of the experts' rows, for what adapters drop of them: those of the tokens' choices, which
 * go the way of the tokens.  0: nothing is dropped. */
static br_val choice_numbers(struct br_graph *g, const struct world *w, const struct dispatch *d)
{
    const struct br__losses *l = g->build->losses;
    br_val x = l ? l->dropout_choices : 0;
    if (!x)
        return 0;
    if (w->etp > 1)
        x = BR__OP(g, ALL_GATHER, BR__I(BR_GROUP_ETP, 0, w->etp, w->etp_rank), x);
    x = BR__RESHAPE(g, x, br__node(g, x)->shape[0] * d->topk, 2);
    return to_experts(g, d, BR__OP(g, MOE_GATHER, BR__I(1), x, d->order));
}

/* What the experts contribute to x[T, hidden] with choices idx and shares p; with ETP a part of it.
 */
static br_val routed_experts(struct br_graph *g, const struct world *w, br_val x, br_val idx,
                             br_val p)
{
    struct br__build *b = g->build;
    const struct dispatch d = dispatch_of(g, w, idx);
    int64_t n = b->cfg->n_experts / w->ep;
    struct br__experts_in in = {
        .x = to_experts(g, &d, BR__OP(g, MOE_GATHER, BR__I(d.topk), x, d.order)),
        .offsets = d.offsets,
        .numbers = choice_numbers(g, w, &d),
        .first = n * w->ep_rank,
        .n = n,
        .etp = w->etp,
        .etp_rank = w->etp_rank};
    const struct br__items fc1 = {FC1, NULL, 2, {BR__SPLIT_ROWS, BR__SPLIT_ROWS}};
    br_val half[2]; /* gate, up */
    br__experts_linears(g, &in, &fc1, half);
    br_val share = b->losses ? share_early(g, &d, &p) : 0;
    br_val from = br__module_starts(g, BR__RECOMPUTE_MOE_ACT);
    in.x = BR__OP(g, SWIGLU, NULL, half[0], half[1]);
    if (share)
        in.x = BR__OP(g, MUL_COL, NULL, in.x, share);
    br__module_ends(g, from, 1);
    br_val y = br__experts_linear(g, &in, FC2, 0, BR__SPLIT_COLS);
    return BR__OP(g, MOE_COMBINE, NULL, from_experts(g, &d, y), p, d.order);
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
    br_val y =
        routed_experts(g, &w, moe_gather(g, &w, x), moe_gather(g, &w, idx), moe_gather(g, &w, p));
    y = moe_scatter(g, &w, y);
    if (br_cfg_i(g->build->cfg, BR_CFG_MOE_SHARED_EXPERT_INTERMEDIATE_SIZE))
        y = BR__OP(g, ADD, NULL, y, shared_expert(g, x));
    br__module_ends(g, from, 0);
    return y;
}
