/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* block_loss.c - the losses of a graph for training, and where its backward pass starts.
 *
 * How much each loss weighs is an input, so one graph serves all micro batches of a shape. */
#include "build.h"

int br__losses_start(struct br_graph *g, struct br__build *b)
{
    size_t n = b->cfg->n_experts ? (size_t)(b->cfg->n_layers + b->cfg->n_mtp) : 0;
    int64_t tokens = b->n_tokens / br__tp(g), k = br_cfg_i(b->cfg, BR_CFG_MOE_ROUTER_TOPK);
    const int64_t rows[1] = {2 + b->n_tokens}, own[1] = {2 + tokens};
    const int64_t state[1] = {2}, choices[2] = {tokens, 2 * k};
    b->losses->moe = br__arena_alloc(&g->arena, (n + 1) * sizeof *b->losses->moe);
    if (b->losses->training && b->losses->o->dropout > 0) {
        b->losses->dropout_rows = br__leaf(g, BR_OP_INPUT, BR_I32, "dropout_rows", 1, rows);
        b->losses->dropout_own = br__leaf(g, BR_OP_INPUT, BR_I32, "dropout_own", 1, own);
    }
    if (b->losses->dropout_rows && n) {
        b->losses->dropout = br__leaf(g, BR_OP_INPUT, BR_I32, "dropout", 1, state);
        b->losses->dropout_choices =
            br__leaf(g, BR_OP_INPUT, BR_F32, "dropout_choices", 2, choices);
    }
    return b->losses->moe ? 0 : BR_E_NOMEM;
}

static br_val float_input(struct br_graph *g, const char *name, uint32_t n_dim, int64_t n)
{
    const int64_t shape[2] = {n, n};
    return br__leaf(g, BR_OP_INPUT, BR_F32, name, n_dim, shape);
}

/* The loss of each token, [T], of x[T, hidden]: logits of all words are never made. */
static void head_loss(struct br_graph *g, struct br__head_loss *h, br_val x, br_val labels)
{
    const struct br__build *b = g->build;
    int tied = !b->params->w->src->untied;
    uint32_t tp = br__tp(g);
    h->x = x = br__enter_tp(g, x);
    h->labels = labels;
    h->w = br__weight(g, tied ? BR__EMBEDDING : "output_layer.weight", 0, BR__SPLIT_ROWS);
    int64_t first = br__node(g, h->w)->shape[0] * br__tp_rank(g);
    const struct br_attr attr = {.i = {b->precision, first, b->losses->o->native_ce != 0}};
    br_val stats = BR__OP(g, LM_HEAD_STATS, &attr, x, h->w, labels);
    if (tp > 1)
        stats = BR__OP(g, ALL_GATHER, BR__I(BR_GROUP_TP, 1, tp, br__tp_rank(g)), stats);
    h->loss = BR__OP(g, LM_HEAD_LOSS, &attr, x, h->w, labels, stats);
}

void br__lm_loss(struct br_graph *g, struct br__build *b, br_val x)
{
    struct br__head_loss *h = &b->losses->lm;
    h->weights = float_input(g, "weights", 1, b->n_tokens);
    head_loss(g, h, x, b->labels);
}

void br__mtp_loss(struct br_graph *g, struct br__build *b, br_val x)
{
    struct br__head_loss *h = &b->losses->mtp;
    const int64_t shape[1] = {b->n_tokens};
    b->mtp_labels = br__leaf(g, BR_OP_INPUT, BR_I32, "mtp_labels", 1, shape);
    h->weights = float_input(g, "mtp_weights", 1, b->n_tokens);
    head_loss(g, h, x, b->mtp_labels);
}

/* How much each token's loss weighs is known before the forward pass, so its gradient needs not
 * wait. */
br_val br__head_pass(struct br_graph *g, struct br__head_loss *h, br_val sum)
{
    const struct br_attr attr = br__node(g, h->loss)->attr;
    const int64_t tokens[1] = {br__node(g, h->x)->shape[0]};
    if (br__tp(g) > 1 || !br__graph_has(g, BR_OP_LM_HEAD_PASS, h->x, h->w))
        return sum;
    br_val loss = br__leaf(g, BR_OP_ZEROS, BR_F32, NULL, 1, tokens);
    const br_val in[] = {h->x, h->w, h->labels, h->weights, loss, sum};
    h->dx = br__op(g, BR_OP_LM_HEAD_PASS, in, sum ? 6 : 5, &attr);
    h->loss = BR__OP(g, AFTER, NULL, loss, h->dx);
    return sum ? BR__OP(g, AFTER, NULL, sum, h->dx) : 0;
}

/* ---- routed layers (Megatron-LM core/transformer/moe/moe_utils.py) --------------------------- */

/* A sum over the rows of this rank becomes that over all ranks which share them; global: and over
 * data-parallel ranks. */
static br_val over_rows(struct br_graph *g, br_val x, int global)
{
    int tp = br__sequence_parallel(g), cp = br__cp(g) > 1;
    int dp = global && g->build->info->topo.size[BR_AXIS_DP] > 1;
    enum br_group group = tp && cp ? BR_GROUP_TP_CP : tp ? BR_GROUP_TP : BR_GROUP_CP;
    if (dp)
        group = BR_GROUP_TP_DP_CP;
    return tp || cp || dp ? BR__OP(g, ALL_REDUCE, BR__I(group, 1), x) : x;
}

/* How often each expert was chosen by all rows. */
static br_val count_experts(struct br_graph *g, br_val idx, int global)
{
    return over_rows(g, BR__OP(g, COUNT_COLS, BR__I(g->build->cfg->n_experts), idx), global);
}

/* sum over experts of count * sum of probabilities, of the rows that are given. */
static br_val loss_load(struct br_graph *g, br_val counts, br_val probs)
{
    int64_t e = br__node(g, counts)->shape[0];
    br_val sums = BR__OP(g, SUM_ROWS, NULL, probs);
    return BR__OP(g, DOT_ROWS, NULL, BR__RESHAPE(g, sums, 1, e), BR__RESHAPE(g, counts, 1, e));
}

/* Rows of this rank that are of sequence s; all sequences are of one length. */
static int64_t rows_of(const struct br_graph *g, br_val x, int64_t s, int64_t *from)
{
    const struct br__build *b = g->build;
    int64_t n = b->n_tokens / b->n_seqs, rows = br__node(g, x)->shape[0];
    int64_t first = br__sequence_parallel(g) ? rows * br__tp_rank(g) : 0;
    *from = BR__MAX(s * n - first, 0);
    return BR__MIN((s + 1) * n - first, rows) - *from;
}

/* The sum of loss_load() over the sequences.  Ranks that share rows count all sequences together,
 * those of which they have nothing, too. */
static br_val load_by_sequence(struct br_graph *g, br_val probs, br_val idx)
{
    const int64_t n_seqs = g->build->n_seqs, e[1] = {g->build->cfg->n_experts};
    br_val *counts = br__arena_alloc(&g->arena, (size_t)n_seqs * sizeof *counts), all = 0, sum = 0;
    if (!counts)
        return br__graph_fail(g, BR_E_NOMEM, "out of memory for a graph");
    for (int64_t s = 0, from, n; s < n_seqs; s++) {
        n = rows_of(g, idx, s, &from);
        counts[s] = n > 0 ? count_experts(g, br__slice(g, idx, 0, from, n), 0)
                          : over_rows(g, br__leaf(g, BR_OP_ZEROS, BR_F32, NULL, 1, e), 0);
        all = all ? BR__OP(g, ADD, NULL, all, counts[s]) : counts[s];
    }
    for (int64_t s = 0, from, n; s < n_seqs; s++) {
        if ((n = rows_of(g, idx, s, &from)) <= 0)
            continue;
        if (br__sequence_parallel(g) || br__cp(g) > 1)
            counts[s] = BR__OP(g, AFTER, NULL, counts[s], all);
        br_val one = loss_load(g, counts[s], br__slice(g, probs, 0, from, n));
        sum = sum ? BR__OP(g, ADD, NULL, sum, one) : one;
    }
    return sum;
}

/* Sum over tokens of log(sum(exp(logits)))^2. */
static br_val z_loss(struct br_graph *g, br_val logits)
{
    br_val z = BR__OP(g, LOG_SUM_EXP, NULL, logits);
    z = BR__RESHAPE(g, z, 1, br__node(g, logits)->shape[0]);
    return BR__OP(g, DOT_ROWS, NULL, z, z);
}

void br__moe_loss(struct br_graph *g, br_val logits, br_val probs, br_val idx)
{
    struct br__build *b = g->build;
    struct br__losses *l = b->losses;
    struct br__moe_losses *m = &l->moe[l->n_moe++];
    int64_t e = b->cfg->n_experts;
    *m = (struct br__moe_losses){0};
    if (l->o->z_coeff != 0) {
        if (!l->z_weight)
            l->z_weight = float_input(g, "z_weight", 2, 1);
        m->z = z_loss(g, logits);
        m->all_z = over_rows(g, m->z, 0);
    }
    if (l->o->aux_kind == BR__AUX_NONE || l->o->aux_coeff == 0)
        return;
    if (!l->aux_weight)
        l->aux_weight = float_input(g, "aux_weight", 2, 1);
    int global = l->o->aux_kind == BR__AUX_GLOBAL;
    if (l->o->aux_kind == BR__AUX_SEQ) {
        m->aux = load_by_sequence(g, probs, idx);
    } else {
        br_val counts = m->counts = count_experts(g, idx, global);
        if (global) {
            m->past = float_input(g, "past_counts", 1, e);
            counts = BR__OP(g, ADD, NULL, counts, m->past);
        }
        m->aux = loss_load(g, counts, probs);
    }
    m->all_aux = over_rows(g, m->aux, 0);
}
