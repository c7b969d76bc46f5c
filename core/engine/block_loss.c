/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* block_loss.c - the losses of a graph for training, and where its backward pass starts.
 *
 * How much each loss weighs is an input, so one graph serves all micro batches of a shape. */
#include "build.h"

int br__losses_start(struct br_graph *g, struct br__build *b)
{
    size_t n = b->cfg->n_experts ? (size_t)(b->cfg->n_layers + b->cfg->n_mtp) : 0;
    b->losses->moe = br__arena_alloc(&g->arena, (n + 1) * sizeof *b->losses->moe);
    return b->losses->moe ? 0 : BR_E_NOMEM;
}

static br_val float_input(struct br_graph *g, const char *name, uint32_t n_dim, int64_t n)
{
    const int64_t shape[2] = {n, n};
    return br__leaf(g, BR_OP_INPUT, BR_F32, name, n_dim, shape);
}

/* weight * (softmax(logits) - 1 at the label): the gradient that the logits get. */
static br_val dlogits(struct br_graph *g, br_val logits, br_val labels, br_val weights)
{
    int64_t t = br__node(g, logits)->shape[0], vocab = br__node(g, logits)->shape[1];
    br_val w = BR__RESHAPE(g, weights, t, 1);
    br_val at_label = BR__OP(g, SCATTER_COLS, BR__I(vocab), w, BR__RESHAPE(g, labels, t, 1));
    br_val all = BR__OP(g, MUL_COL, NULL, BR__OP(g, SOFTMAX, NULL, logits), w);
    return BR__OP(g, ADD, NULL, all, BR__OP(g, SCALE, BR__F(-1), at_label));
}

void br__lm_loss(struct br_graph *g, struct br__build *b, br_val logits)
{
    struct br__losses *l = b->losses;
    l->weights = float_input(g, "weights", 1, b->n_tokens);
    l->logits = logits;
    l->dlogits = dlogits(g, logits, b->labels, l->weights);
}

void br__mtp_loss(struct br_graph *g, struct br__build *b, br_val logits)
{
    struct br__losses *l = b->losses;
    const int64_t shape[1] = {b->n_tokens};
    b->mtp_labels = br__leaf(g, BR_OP_INPUT, BR_I32, "mtp_labels", 1, shape);
    l->mtp_weights = float_input(g, "mtp_weights", 1, b->n_tokens);
    l->mtp_logits = logits;
    l->mtp_dlogits = dlogits(g, logits, b->mtp_labels, l->mtp_weights);
}

/* ---- routed layers (Megatron-LM core/transformer/moe/moe_utils.py) --------------------------- */

/* sum over experts of count * sum of probabilities, for rows [from, from + n). */
static br_val load(struct br_graph *g, br_val counts, br_val probs)
{
    int64_t e = br__node(g, counts)->shape[0];
    br_val sums = BR__OP(g, SUM_ROWS, NULL, probs);
    return BR__OP(g, DOT_ROWS, NULL, BR__RESHAPE(g, sums, 1, e), BR__RESHAPE(g, counts, 1, e));
}

/* The sum of load() over the sequences, which are all of one length. */
static br_val load_by_sequence(struct br_graph *g, br_val probs, br_val idx)
{
    const struct br__build *b = g->build;
    int64_t n = b->n_tokens / b->n_seqs;
    br_val sum = 0;
    for (int64_t s = 0; s < b->n_seqs; s++) {
        br_val counts =
            BR__OP(g, COUNT_COLS, BR__I(b->cfg->n_experts), br__slice(g, idx, 0, s * n, n));
        br_val one = load(g, counts, br__slice(g, probs, 0, s * n, n));
        sum = s ? BR__OP(g, ADD, NULL, sum, one) : one;
    }
    return sum;
}

void br__moe_loss(struct br_graph *g, br_val logits, br_val probs, br_val idx)
{
    struct br__build *b = g->build;
    struct br__losses *l = b->losses;
    struct br__moe_losses *m = &l->moe[l->n_moe++];
    int64_t e = b->cfg->n_experts;
    *m = (struct br__moe_losses){0};
    (void)logits;
    if (l->o->aux_kind == BR__AUX_NONE || l->o->aux_coeff == 0)
        return;
    if (!l->aux_weight)
        l->aux_weight = float_input(g, "aux_weight", 2, 1);
    if (l->o->aux_kind == BR__AUX_SEQ) {
        m->aux = load_by_sequence(g, probs, idx);
        return;
    }
    br_val counts = m->counts = BR__OP(g, COUNT_COLS, BR__I(e), idx);
    if (l->o->aux_kind == BR__AUX_GLOBAL) {
        m->past = float_input(g, "past_counts", 1, e);
        counts = BR__OP(g, ADD, NULL, counts, m->past);
    }
    m->aux = load(g, counts, probs);
}
