/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* blocks.c - the blocks of a transformer layer: norm, linear, softmax attention, gated MLP.
 *
 * Tensor parallelism (Shoeybi et al. 2019): a block branches its input to the ranks, each works on
 * its heads or channels, and its output is the sum over the ranks.  With one rank neither adds an
 * op. */
#include "build.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- what blocks are made of ----------------------------------------------------------------- */

const struct br_config *br_graph_config(const struct br_graph *g)
{
    return g->build->cfg;
}
int br_layer_is_linear(const struct br_graph *g, int layer)
{
    return layer >= 0 && layer < g->build->cfg->n_layers && g->build->cfg->linear[layer];
}
int br_layer_is_moe(const struct br_graph *g, int layer)
{
    /* Prediction layers come after the decoder's and are routed wherever the model is. */
    const struct br_config *cfg = g->build->cfg;
    return cfg->n_experts > 0 && !(layer >= 0 && layer < cfg->n_layers && cfg->dense[layer]);
}

uint32_t br__tp(const struct br_graph *g)
{
    return g->build->info->topo.size[BR_AXIS_TP];
}
uint32_t br__tp_rank(const struct br_graph *g)
{
    return br_topo_coord(&g->build->info->topo, g->build->info->rank, BR_AXIS_TP);
}

uint32_t br__cp(const struct br_graph *g)
{
    return g->build->losses ? g->build->info->topo.size[BR_AXIS_CP] : 1;
}
uint32_t br__cp_rank(const struct br_graph *g)
{
    return br_topo_coord(&g->build->info->topo, g->build->info->rank, BR_AXIS_CP);
}

int br__sequence_parallel(const struct br_graph *g)
{
    const struct br__losses *l = g->build->losses;
    return l && l->o->sequence_parallel && br__tp(g) > 1;
}

br_val br__enter_tp(struct br_graph *g, br_val x)
{
    if (br__tp(g) == 1)
        return x;
    if (br__sequence_parallel(g))
        return BR__OP(g, ALL_GATHER, BR__I(BR_GROUP_TP, 0, br__tp(g), br__tp_rank(g)), x);
    return BR__OP(g, BRANCH, BR__I(BR_GROUP_TP), x);
}
br_val br__leave_tp(struct br_graph *g, br_val x)
{
    if (br__tp(g) == 1)
        return x;
    if (br__sequence_parallel(g))
        return BR__OP(g, REDUCE_SCATTER, BR__I(BR_GROUP_TP, 0, br__tp(g), br__tp_rank(g)), x);
    return BR__OP(g, ALL_REDUCE, BR__I(BR_GROUP_TP, 1, br__tp(g), br__tp_rank(g)), x);
}

/* A weight of which each rank computes a part of the gradient: training adds the parts up once a
 * step, other gradients are whole. */
static br_val each_rank(struct br_graph *g, br_val w)
{
    return br__tp(g) == 1 || g->build->losses ? w : BR__OP(g, BRANCH, BR__I(BR_GROUP_TP), w);
}

/* How a weight is shared whose ranks all hold it whole: each sees rows of its own or not. */
static enum br__split split_of(const struct br_graph *g, enum br__split split)
{
    return split == BR__SPLIT_NONE && br__sequence_parallel(g) ? BR__SPLIT_EACH : split;
}

struct br_attr br__exact(const struct br_graph *g)
{
    return (struct br_attr){.i = {g->values ? g->values : BR_F32}};
}

/* One leaf per param, so that its gradient is one value. */
static br_val leaf_of(struct br_graph *g, const struct br__param *p)
{
    for (br_val v = 1; v < g->n; v++)
        if (g->nodes[v].stored == &p->stored)
            return v;
    return br__param_leaf(g, &p->stored);
}

static const struct br__param *block_find(struct br_graph *g, const char *name, int item,
                                          enum br__split split)
{
    struct br__build *b = g->build;
    const struct br__param *p = NULL;
    char full[128];
    snprintf(full, sizeof full, "%s%s", b->prefix, name);
    const struct br__param_want want = {
        .mcore = full, .item = item, .sharing = {split_of(g, split), br__tp_rank(g), br__tp(g)}};
    if (g->err.code || br__param_get(b->params, &want, &p, &g->err))
        return NULL;
    br_val leaf = leaf_of(g, p);
    if (leaf && !g->nodes[leaf].name) /* for messages */
        g->nodes[leaf].name = br__arena_strdup(&g->arena, full);
    return p;
}

/* The adapter that works beside a weight, or NULL. */
static const struct br__adapter_pair *adapter_named(const struct br_graph *g, const char *target)
{
    const struct br__adapter *a = g->build->params->w->adapter;
    return a && !a->merge ? br__adapter_find(a, target) : NULL;
}
static const struct br__adapter_pair *adapter_of(const struct br_graph *g,
                                                 const struct br__part *weight)
{
    return adapter_named(g, weight->source->name);
}

br_val br__plain_leaf(struct br_graph *g, const struct br__param *p)
{
    for (size_t i = 0; i < p->n_parts; i++)
        if (adapter_of(g, &p->parts[i]))
            return br__graph_fail(g, BR_E_UNSUPPORTED,
                                  "an adapter of '%s' cannot work beside the weight; use "
                                  "--merge-adapter",
                                  p->parts[i].source->name);
    return leaf_of(g, p);
}

br_val br__weight(struct br_graph *g, const char *name, int item, enum br__split split)
{
    const struct br__param *p = block_find(g, name, item, split);
    br_val w = p ? br__plain_leaf(g, p) : 0;
    return w && split == BR__SPLIT_EACH ? each_rank(g, w) : w;
}

/* A tensor of the pair as this rank needs it.  A whole tensor beside a sharded weight is multiplied
 * with this rank's share only, so its gradient is a partial sum. */
static br_val adapter_tensor(struct br_graph *g, const struct br__adapter_pair *pair, int which,
                             enum br__split split)
{
    const struct br__param *p = NULL;
    const struct br__sharing weight = {split_of(g, split), br__tp_rank(g), br__tp(g)};
    if (g->err.code || br__param_adapter(g->build->params, pair, which, &weight, &p, &g->err))
        return 0;
    br_val v = leaf_of(g, p);
    return p->split == BR__SPLIT_EACH ? each_rank(g, v) : v;
}

/* 1 / |w + s b a| row by row.  Of rows whose columns are shared out, the ranks' squares add up. */
static br_val inverse_length(struct br_graph *g, br_val w, br_val a, br_val b, float scaling,
                             enum br__split split)
{
    br_val inv = BR__OP(g, DORA_INV_NORM, BR__F(scaling), w, a, b);
    if (split != BR__SPLIT_COLS || br__tp(g) == 1)
        return inv;
    br_val length = BR__OP(g, RSQRT, NULL, BR__OP(g, MUL, NULL, inv, inv));
    const struct br_attr sum = {.i = {BR_GROUP_TP, 1, br__tp(g), br__tp_rank(g)}};
    return BR__OP(g, RSQRT, NULL,
                  BR__OP(g, ALL_REDUCE, &sum, BR__OP(g, MUL, NULL, length, length)));
}

static br_val scaled(struct br_graph *g, br_val z, float scaling)
{
    return scaling == 1 ? z : BR__OP(g, SCALE, BR__F(scaling), z);
}

/* A power of two scales exactly, so it makes no difference where. */
static int scales_exactly(float scaling)
{
    int exponent;
    return fabsf(frexpf(scaling, &exponent)) == 0.5F;
}

/* y + s z */
static br_val add_scaled(struct br_graph *g, br_val y, br_val z, float scaling)
{
    z = scaled(g, z, scaling);
    if (z && br__node(g, z)->dtype != br__node(g, y)->dtype)
        z = BR__OP(g, CAST, BR__I(br__node(g, y)->dtype), z);
    return BR__OP(g, ADD, NULL, y, z);
}

/* The weight that an adapter works beside: how ranks share it, and of experts the rows that it
 * meets. */
struct beside {
    enum br__split split;
    const struct br__experts_in *experts; /* or NULL */
};

/* Dropout of an adapter in training; streams are numbered by what is dropped, elements by their
 * token, or its choice of an expert, and column in the whole.  shares: each rank has a share of the
 * columns. */
static br_val adapter_dropout(struct br_graph *g, br_val x, int64_t stream, int shares,
                              const struct br__experts_in *experts)
{
    const struct br__losses *l = g->build->losses;
    int64_t rows = br__node(g, x)->shape[0], n = br__node(g, x)->shape[1];
    uint32_t size = experts ? experts->etp : br__tp(g);
    struct br_attr attr = {.i = {stream}, .f = {l->o->dropout}};
    if (shares && size > 1) {
        attr.i[2] = n * size;
        attr.i[3] = n * (experts ? experts->etp_rank : br__tp_rank(g));
    }
    if (experts)
        return BR__OP(g, DROPOUT, &attr, x, l->dropout, experts->numbers);
    return BR__OP(g, DROPOUT, &attr, x,
                  rows == g->build->n_tokens ? l->dropout_rows : l->dropout_own);
}

static int drops(const struct br_graph *g, int post)
{
    const struct br__losses *l = g->build->losses;
    return l && l->dropout_rows && !l->o->dropout_post == !post;
}

/* As adapter_tensor().  Experts of all ranks share one pair, which each rank has whole; beside its
 * share of their channels it works with its share of the pair. */
static br_val pair_tensor(struct br_graph *g, const struct br__adapter_pair *pair, int which,
                          const struct beside *by)
{
    const struct br__experts_in *in = by->experts;
    br_val v = adapter_tensor(g, pair, which, in ? BR__SPLIT_NONE : by->split);
    int axis = which == 'A', is_cut = (by->split == BR__SPLIT_COLS) == axis;
    if (!v || !in || in->etp == 1 || !is_cut)
        return v;
    int64_t n = br__node(g, v)->shape[axis] / in->etp;
    return br__slice(g, v, axis, n * in->etp_rank, n);
}

/* What an adapter sees of x: the same for all weights that have its A. */
static br_val adapter_input(struct br_graph *g, br_val x, const struct br__adapter_pair *pair,
                            const struct beside *by)
{
    struct br__low_rank *l = &g->build->low_rank;
    if (l->x != x || l->a != pair->a) {
        int64_t stream = 2 * (int64_t)(pair->a->index - g->build->params->w->n_sources);
        *l = (struct br__low_rank){
            .x = x,
            .a = pair->a,
            .seen = drops(g, 0)
                        ? adapter_dropout(g, x, stream, by->split == BR__SPLIT_COLS, by->experts)
                        : x};
    }
    return l->seen;
}

/* What it makes of that with its A, scaled where that is exact: it is narrow there. */
static br_val adapter_middle(struct br_graph *g, br_val seen, const struct br__adapter_pair *pair,
                             const struct beside *by)
{
    const struct br_attr exact = br__exact(g);
    struct br__low_rank *l = &g->build->low_rank;
    if (!l->middle) {
        br_val z = BR__OP(g, MATMUL, &exact, seen, pair_tensor(g, pair, 'A', by));
        l->middle = scales_exactly(pair->scaling) ? scaled(g, z, pair->scaling) : z;
    }
    return l->middle;
}

/* y = x w' becomes x (w + s b a)', of an x that adapter_input() has let through.  Where y is a
 * partial sum, so is what is added to it. */
static br_val with_low_rank(struct br_graph *g, br_val seen, br_val y,
                            const struct br__adapter_pair *pair, const struct beside *by)
{
    const struct br_attr exact = br__exact(g);
    br_val middle = adapter_middle(g, seen, pair, by);
    br_val z = BR__OP(g, MATMUL, &exact, middle, pair_tensor(g, pair, 'B', by));
    int shares = by->split == BR__SPLIT_ROWS || by->split == BR__SPLIT_KV;
    if (drops(g, 1))
        z = adapter_dropout(g, z, 2 * (int64_t)pair->index + 1, shares, by->experts);
    return add_scaled(g, y, z, scales_exactly(pair->scaling) ? 1 : pair->scaling);
}

/* DoRA: y times magnitude / |w + s b a| row by row.  The length is a constant to the gradient, as
 * in peft and in section 4.3 of the paper. */
static br_val to_magnitude(struct br_graph *g, br_val y, br_val w,
                           const struct br__adapter_pair *pair, enum br__split split)
{
    br_val a = adapter_tensor(g, pair, 'A', split), b = adapter_tensor(g, pair, 'B', split);
    br_val inv = inverse_length(g, w, a, b, pair->scaling, split);
    br_val m = adapter_tensor(g, pair, 'M', split);
    return BR__OP(g, MUL_ROW, NULL, y, BR__OP(g, MUL, NULL, m, inv));
}

/* A weight and what works beside it; bias_inside: what the magnitude scales, too, or 0. */
struct adapted {
    const struct br__adapter_pair *pair;
    br_val w, bias_inside;
    struct br_attr product; /* by the weight */
    enum br__split split;
};

/* y = x w' with the adapter.  Of DoRA with dropout the weight's own product sees x whole, and the
 * change of length what the adapter sees, as in peft. */
static br_val with_adapter(struct br_graph *g, br_val x, br_val y, const struct adapted *ad)
{
    const struct br__adapter_pair *pair = ad->pair;
    const struct beside by = {ad->split, NULL};
    br_val seen = adapter_input(g, x, pair, &by), whole = y;
    if (pair->magnitude && seen != x)
        y = BR__OP(g, MATMUL, &ad->product, seen, ad->w);
    br_val dropped = y;
    y = with_low_rank(g, seen, y, pair, &by);
    if (ad->bias_inside)
        y = BR__OP(g, ADD_ROW, NULL, y, ad->bias_inside);
    if (!pair->magnitude)
        return y;
    y = to_magnitude(g, y, ad->w, pair, ad->split);
    if (seen == x)
        return y;
    return BR__OP(g, ADD, NULL, y,
                  BR__OP(g, ADD, NULL, whole, BR__OP(g, SCALE, BR__F(-1), dropped)));
}

br_val br__linear(struct br_graph *g, br_val x, const char *name, int item, enum br__split split,
                  const char *bias)
{
    const struct br__param *p = block_find(g, name, item, split);
    if (!p)
        return 0;
    br_val w = leaf_of(g, p);
    const struct br_attr product = {
        .i = {g->build->precision, 0, 0, g->build->in_head ? BR_F32 : 0}};
    br_val y = BR__OP(g, MATMUL, &product, x, w);
    const struct br__adapter_pair *pair = adapter_of(g, &p->parts[0]);
    br_val b = bias ? br__weight(g, bias, item, split) : 0;
    int inside = b && pair && g->build->params->w->adapter->bias_inside;
    if (pair)
        y = with_adapter(g, x, y, &(struct adapted){pair, w, inside ? b : 0, product, split});
    return b && !inside ? BR__OP(g, ADD_ROW, NULL, y, b) : y;
}

/* ---- several weights that meet one input ----------------------------------------------------- */

static int merges(const struct br_graph *g)
{
    const struct br__device *d = g->device;
    return d && d->backend.flags & BR_BACKEND_MERGES && !br__device_is_host(d);
}

/* Leaf of the items of a list as one weight, whose param is *out; 0: they are apart.  in: experts,
 * or NULL. */
static br_val merged_leaf(struct br_graph *g, const char *name, const struct br__items *items,
                          const struct br__experts_in *in, const struct br__param **out)
{
    struct br__build *b = g->build;
    enum br__split splits[BR__MAX_ITEMS];
    char full[128];
    *out = NULL;
    snprintf(full, sizeof full, "%s%s", b->prefix, name);
    struct br__param_want want = {.mcore = full, .sharing = {0, br__tp_rank(g), br__tp(g)}};
    if (in) {
        want.first = in->first;
        want.n = in->n;
        want.sharing = (struct br__sharing){0, in->etp_rank, in->etp};
    }
    for (int i = 0; i < items->n; i++)
        splits[i] = items->splits[i];
    if (!merges(g) || g->err.code ||
        br__param_get_merged(b->params, &want, splits, items->n, out, &g->err) || !*out)
        return 0;
    br_val leaf = leaf_of(g, *out);
    if (leaf && !g->nodes[leaf].name)
        g->nodes[leaf].name = br__arena_strdup(&g->arena, full);
    return leaf;
}

/* Columns of y that belong to each item. */
static void cut_items(struct br_graph *g, br_val all, const struct br__param *p, int n, br_val *y)
{
    int64_t at = 0;
    for (int i = 0; i < n && all; at += p->parts[i++].n_rows)
        y[i] = br__slice(g, all, 1, at, p->parts[i].n_rows);
}

void br__linears(struct br_graph *g, br_val x, const struct br__items *items, br_val *y)
{
    const struct br__param *p, *of_bias;
    br_val w = merged_leaf(g, items->name, items, NULL, &p), bias = 0;
    if (w && items->bias)
        bias = merged_leaf(g, items->bias, items, NULL, &of_bias);
    memset(y, 0, (size_t)items->n * sizeof *y);
    if (!w || (items->bias && !bias)) {
        for (int i = 0; i < items->n; i++)
            y[i] = br__linear(g, x, items->name, i, items->splits[i], items->bias);
        return;
    }
    br_val all = BR__OP(g, MATMUL, BR__I(g->build->precision), x, w);
    cut_items(g, bias ? BR__OP(g, ADD_ROW, NULL, all, bias) : all, p, items->n, y);
}

void br__experts_linears(struct br_graph *g, const struct br__experts_in *in,
                         const struct br__items *items, br_val *y)
{
    const struct br__param *p;
    br_val w = merged_leaf(g, items->name, items, in, &p);
    memset(y, 0, (size_t)items->n * sizeof *y);
    for (int i = 0; i < items->n && !w; i++)
        y[i] = br__experts_linear(g, in, items->name, i, items->splits[i]);
    if (w)
        cut_items(g, BR__OP(g, GROUPED_MATMUL, BR__I(g->build->precision), in->x, w, in->offsets),
                  p, items->n, y);
}

br_val br__router(struct br_graph *g, br_val x, uint32_t dtype)
{
    const struct br_attr attr = {.i = {dtype}};
    const struct br__param *p = block_find(g, "mlp.router.weight", 0, BR__SPLIT_NONE);
    if (!p)
        return 0;
    br_val w = leaf_of(g, p), rows = x;
    if (g->values && dtype != g->values)
        rows = BR__OP(g, CAST, BR__I(dtype), x);
    br_val y = BR__OP(g, MATMUL, &attr, rows, w);
    const struct br__adapter_pair *pair = adapter_of(g, &p->parts[0]);
    return pair ? with_adapter(g, x, y, &(struct adapted){pair, w, 0, attr, BR__SPLIT_NONE}) : y;
}

/* A pair for each expert, as peft has them. */
static br_val experts_apart(struct br_graph *g, const struct br__experts_in *in, br_val y,
                            const struct br__param *p, enum br__split split)
{
    const struct br_attr exact = br__exact(g);
    const struct br__param *a = NULL, *b = NULL;
    const struct br__sharing sharing = {split, in->etp_rank, in->etp};
    if (br__param_expert_adapters(g->build->params, p, 'A', &sharing, &a, &g->err) ||
        br__param_expert_adapters(g->build->params, p, 'B', &sharing, &b, &g->err))
        return 0;
    br_val z = BR__OP(g, GROUPED_MATMUL, &exact, in->x, leaf_of(g, a), in->offsets);
    z = BR__OP(g, GROUPED_MATMUL, &exact, z, leaf_of(g, b), in->offsets);
    return add_scaled(g, y, z, adapter_of(g, &p->parts[0])->scaling);
}

br_val br__experts_linear(struct br_graph *g, const struct br__experts_in *in, const char *name,
                          int item, enum br__split split)
{
    struct br__build *b = g->build;
    const struct br__param *p = NULL;
    char full[128];
    snprintf(full, sizeof full, "%s%s", b->prefix, name);
    const struct br__param_want want = {
        full, item, in->first, in->n, {split, in->etp_rank, in->etp}};
    if (g->err.code || br__param_get(b->params, &want, &p, &g->err))
        return 0;
    br_val y = BR__OP(g, GROUPED_MATMUL, BR__I(b->precision), in->x, leaf_of(g, p), in->offsets);
    const struct br__adapter_pair *shared = adapter_named(g, p->key);
    size_t apart = 0;
    for (size_t i = 0; i < p->n_parts; i++)
        apart += adapter_of(g, &p->parts[i]) != NULL;
    const struct beside by = {split, in};
    if (shared) /* Megatron trains one pair for all experts of a layer */
        return with_low_rank(g, adapter_input(g, in->x, shared, &by), y, shared, &by);
    return apart ? experts_apart(g, in, y, p, split) : y;
}

br_val br__state(struct br_graph *g, const char *kind, uint32_t dtype, uint32_t n_dim,
                 const int64_t *shape)
{
    struct br__build *b = g->build;
    const char *name = br__arena_printf(&g->arena, "%s.%d", kind, b->layer);
    if (!name || br__grow(&b->states, &b->cap_states, b->n_states, sizeof *b->states))
        return br__graph_fail(g, BR_E_NOMEM, "out of memory for a cache");
    br_val v = br__leaf(g, BR_OP_STATE, dtype, name, n_dim, shape);
    b->states[b->n_states++] = (struct br__state){v, name, dtype, br__node_elems(br__node(g, v))};
    return v;
}

/* ---- norm and residual ----------------------------------------------------------------------- */

br_val br_add(struct br_graph *g, br_val x, br_val y)
{
    return BR__OP(g, ADD, NULL, x, y);
}

static const struct br_attr *norm_attr(const struct br_graph *g, struct br_attr *attr)
{
    const struct br_config *cfg = g->build->cfg;
    *attr = (struct br_attr){.i = {br_cfg_i(cfg, BR_CFG_LAYERNORM_ZERO_CENTERED_GAMMA)},
                             .f = {br_cfg_f(cfg, BR_CFG_LAYERNORM_EPSILON)}};
    return attr;
}

br_val br_rmsnorm(struct br_graph *g, br_val x, const char *weight)
{
    struct br_attr attr;
    br_val w = br__weight(g, weight, 0, BR__SPLIT_NONE);
    br_val from = br__module_starts(g, BR__RECOMPUTE_LAYERNORM);
    br_val y = BR__OP(g, RMSNORM, norm_attr(g, &attr), x, w);
    br__module_ends(g, from, 1);
    return y;
}

/* ---- softmax attention ----------------------------------------------------------------------- */

/* x[T, heads*d] -> [T, heads, d], normed per head where the model does so, rotated. */
static br_val block_prepare(struct br_graph *g, br_val x, const char *norm)
{
    struct br__build *b = g->build;
    struct br_attr attr;
    if (br_cfg_i(b->cfg, BR_CFG_QK_LAYERNORM)) {
        br_val w = br__weight(g, norm, 0, BR__SPLIT_EACH);
        x = BR__OP(g, RMSNORM, norm_attr(g, &attr), x, w);
    }
    return BR__OP(g, ROPE, BR__IF(0, b->rope_scale), x, b->positions, b->inv_freq);
}

/* The keys or values that the queries see: the cache after this batch was written into it, or,
 * without caches, the batch itself. */
static br_val block_remember(struct br_graph *g, br_val x, const char *kind)
{
    struct br__build *b = g->build;
    const struct br__node *n = br__node(g, x);
    if (!(b->flags & BR__BUILD_CACHE))
        return x;
    const int64_t shape[3] = {b->slots * b->capacity, n->shape[1], n->shape[2]};
    uint32_t dtype = b->precision == BR_BF16 ? BR_BF16 : BR_F32;
    return BR__OP(g, CACHE_WRITE, NULL, br__state(g, kind, dtype, 3, shape), x, b->cache_rows);
}

/* Room for what the gradient of attention needs of its forward pass. */
static br_val log_sums(struct br_graph *g, int64_t rows, int64_t heads)
{
    const int64_t shape[2] = {rows, heads};
    return br__leaf(g, BR_OP_ZEROS, BR_F32, NULL, 2, shape);
}

br_val br__whole_rows(struct br_graph *g, br_val x)
{
    const struct br__node n = *br__node(g, x);
    if (br__cp(g) == 1)
        return x;
    x = BR__RESHAPE(g, x, n.shape[0], br__node_elems(&n) / n.shape[0]);
    if (br__node(g, x)->stride[0] != br__node(g, x)->shape[1]) /* columns of a merged product */
        x = BR__OP(g, CONCAT, NULL, x);
    x = BR__OP(g, ALL_GATHER, BR__I(BR_GROUP_CP, 0, br__cp(g), br__cp_rank(g)), x);
    x = BR__OP(g, GATHER_ROWS, NULL, x, g->build->order);
    int64_t shape[BR_VIEW_DIMS];
    memcpy(shape, n.shape, sizeof shape);
    shape[0] *= br__cp(g);
    return br__reshape(g, x, n.n_dim, shape);
}

/* What queries q[T, heads, d] see of keys and values. */
static br_val attend(struct br_graph *g, br_val q, br_val k, br_val v, br_val seqs, int64_t window)
{
    int64_t t = br__node(g, q)->shape[0], heads = br__node(g, q)->shape[1];
    const struct br_attr attr = {.i = {window},
                                 .f = {1.0 / sqrt((double)br__node(g, q)->shape[2])}};
    return g->build->losses ? BR__OP(g, ATTENTION, &attr, q, k, v, seqs, log_sums(g, t, heads))
                            : BR__OP(g, ATTENTION, &attr, q, k, v, seqs);
}

/* A context-parallel rank has two chunks of each sequence, one early and one late: their rows take
 * turns, so each is a half of the columns of rows that are twice as long. */
static br_val attend_halves(struct br_graph *g, br_val q, br_val k, br_val v, int64_t window)
{
    const struct br__build *b = g->build;
    const br_val seqs[2] = {b->seqs, b->seqs_odd};
    const struct br__node n = *br__node(g, q);
    int64_t t = n.shape[0] / 2, row = n.shape[1] * n.shape[2];
    br_val o[2];
    if (br__cp(g) == 1)
        return attend(g, q, k, v, b->seqs, window);
    if (n.shape[0] % 2)
        return br__graph_fail(g, BR_E_USAGE, "%lld rows are not two chunks of one length",
                              (long long)n.shape[0]);
    k = br__whole_rows(g, k);
    v = br__whole_rows(g, v);
    q = BR__RESHAPE(g, q, t, 2 * row);
    for (int i = 0; i < 2; i++) {
        br_val half = br__slice(g, q, 1, i * row, row);
        o[i] = attend(g, BR__RESHAPE(g, half, t, n.shape[1], n.shape[2]), k, v, seqs[i], window);
    }
    return BR__RESHAPE(g, BR__OP(g, CONCAT, NULL, o[0], o[1]), 2 * t, n.shape[1], n.shape[2]);
}

#define QKV "self_attention.linear_qkv.weight"

br_val br_attention(struct br_graph *g, br_val x, int layer)
{
    struct br__build *b = g->build;
    const struct br_config *cfg = b->cfg;
    int64_t d = br_cfg_i(cfg, BR_CFG_KV_CHANNELS), t = b->n_tokens, tp = br__tp(g);
    int64_t heads = br_cfg_i(cfg, BR_CFG_NUM_ATTENTION_HEADS) / tp;
    int64_t groups = BR__MAX(br_cfg_i(cfg, BR_CFG_NUM_QUERY_GROUPS) / tp, 1);
    int gated = br_cfg_i(cfg, BR_CFG_ATTENTION_OUTPUT_GATE) != 0;
    const char *bias = br_cfg_i(cfg, BR_CFG_ADD_QKV_BIAS) ? "self_attention.linear_qkv.bias" : NULL;
    int64_t window = layer < cfg->n_layers && cfg->windowed[layer] ? cfg->window : 0;

    x = br__enter_tp(g, x);
    const struct br__items qkv = {QKV, bias, 3, {BR__SPLIT_ROWS, BR__SPLIT_KV, BR__SPLIT_KV}};
    br_val y[3], gate = 0;
    br__linears(g, x, &qkv, y);
    br_val q = BR__RESHAPE(g, y[0], t, heads, gated ? 2 * d : d);
    br_val k = BR__RESHAPE(g, y[1], t, groups, d), v = BR__RESHAPE(g, y[2], t, groups, d);
    if (gated) {
        gate = br__slice(g, q, 2, d, d);
        q = br__slice(g, q, 2, 0, d);
    }
    q = block_prepare(g, q, "self_attention.q_layernorm.weight");
    k = block_remember(g, block_prepare(g, k, "self_attention.k_layernorm.weight"), "key");
    v = block_remember(g, v, "value");
    br_val o = attend_halves(g, q, k, v, window);
    if (gated)
        o = BR__OP(g, MUL, NULL, o, BR__OP(g, SIGMOID, NULL, gate));
    o = BR__RESHAPE(g, o, t, heads * d);
    return br__leave_tp(
        g, br__linear(g, o, "self_attention.linear_proj.weight", 0, BR__SPLIT_COLS, NULL));
}

/* ---- gated MLP ------------------------------------------------------------------------------- */

br_val br_gated_mlp(struct br_graph *g, br_val x, const char *prefix)
{
    char fc1[64], fc2[64];
    snprintf(fc1, sizeof fc1, "%slinear_fc1.weight", prefix);
    snprintf(fc2, sizeof fc2, "%slinear_fc2.weight", prefix);
    br_val from = br__module_starts(g, strstr(prefix, "shared") ? BR__RECOMPUTE_SHARED_EXPERTS
                                                                : BR__RECOMPUTE_MLP);
    x = br__enter_tp(g, x);
    br_val half[2]; /* gate, up */
    br__linears(g, x, &(struct br__items){fc1, NULL, 2, {BR__SPLIT_ROWS, BR__SPLIT_ROWS}}, half);
    br_val y = BR__OP(g, SWIGLU, NULL, half[0], half[1]);
    y = br__leave_tp(g, br__linear(g, y, fc2, 0, BR__SPLIT_COLS, NULL));
    br__module_ends(g, from, 0);
    return y;
}
