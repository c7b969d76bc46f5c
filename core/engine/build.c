/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* build.c - the forward pass of one rank: embedding, the plugin's layers of this pipeline stage,
 * final norm, logits, losses. */
#include "build.h"
#include <stdio.h>
#include <string.h>

struct stage {
    uint32_t first, n; /* layers */
    int is_first, is_last;
    uint32_t number;
    int predicts;         /* has the prediction layer */
    uint32_t n_in, n_out; /* hidden states of a token that come in and go out */
};

static br_val build_input(struct br_graph *g, const char *name, uint32_t n_dim, int64_t a,
                          int64_t b)
{
    const int64_t shape[2] = {a, b};
    return br__leaf(g, BR_OP_INPUT, BR_I32, name, n_dim, shape);
}

static void make_inputs(struct br_graph *g, struct br__build *b, const struct stage *s)
{
    float freq[BR__MAX_ROTARY];
    int64_t n;
    b->positions = build_input(g, "positions", 1, b->n_tokens, 0);
    b->seqs = build_input(g, "seqs", 2, b->n_seqs, 5);
    if (br__cp(g) > 1) {
        b->seqs_odd = build_input(g, "seqs_odd", 2, b->n_seqs, 5);
        b->whole_seqs = build_input(g, "whole_seqs", 2, b->n_seqs, 5);
        b->order = build_input(g, "order", 1, b->n_tokens * br__cp(g), 0);
        b->back = build_input(g, "back", 1, b->n_tokens * br__cp(g), 0);
    }
    if (s->is_first)
        b->ids = build_input(g, "ids", 1, b->n_tokens, 0);
    if (b->flags & BR__BUILD_CACHE)
        b->cache_rows = build_input(g, "cache_rows", 1, b->n_tokens, 0);
    if (s->is_last && !(b->flags & BR__BUILD_ALL_LOGITS))
        b->out_rows = build_input(g, "out_rows", 1, b->n_out, 0);
    if (s->is_last && b->flags & BR__BUILD_LOSS)
        b->labels = build_input(g, "labels", 1, b->n_tokens, 0);
    if (!g->err.code && !br__rope(b->cfg, freq, BR__MAX_ROTARY, &n, &b->rope_scale, &g->err))
        b->inv_freq = br__const(g, freq, n);
}

static br_val build_embed(struct br_graph *g, br_val ids)
{
    br_val table = br__weight(g, BR__EMBEDDING, 0, BR__SPLIT_ROWS);
    int64_t rows = br__node(g, table)->shape[0];
    br_val x = BR__OP(g, EMBED, BR__I(rows * br__tp_rank(g)), table, ids);
    return br__leave_tp(g, x);
}

/* Rows that a hidden state of each token makes between chunks. */
static int64_t passed_rows(const struct br_graph *g)
{
    return g->build->n_tokens / (br__sequence_parallel(g) ? br__tp(g) : 1);
}

/* Hidden states, n of each token, or their gradient, as another chunk of a model in training has
 * sent them: memory of the device, which is bound before a run. */
static br_val passed_state(struct br_graph *g, const struct br__build *b, const char *name,
                           uint32_t n)
{
    const int64_t shape[2] = {passed_rows(g) * n, br_cfg_i(b->cfg, BR_CFG_HIDDEN_SIZE)};
    return br__leaf(g, BR_OP_STATE, g->values ? g->values : BR_F32, name, 2, shape);
}

static br_val build_receive(struct br_graph *g, struct br__build *b, const struct stage *s)
{
    const int64_t shape[2] = {b->n_tokens, br_cfg_i(b->cfg, BR_CFG_HIDDEN_SIZE)};
    const uint32_t from = s->number - 1;
    if (b->losses)
        return passed_state(g, b, "hidden", s->n_in);
    br_val v = br__leaf(g, BR_OP_RECV, g->values ? g->values : BR_F32, NULL, 2, shape);
    if (v)
        g->nodes[v].attr = (struct br_attr){.i = {BR_GROUP_PP, from}};
    return v;
}

/* x[T, hidden] -> [rows, vocab], whole on every tensor-parallel rank. */
static br_val build_head(struct br_graph *g, struct br__build *b, br_val x)
{
    int tied = !b->params->w->src->untied;
    uint32_t tp = br__tp(g);
    x = br__enter_tp(g, x);
    b->in_head = 1;
    br_val y =
        br__linear(g, x, tied ? BR__EMBEDDING : "output_layer.weight", 0, BR__SPLIT_ROWS, NULL);
    b->in_head = 0;
    if (tp == 1)
        return y;
    y = BR__OP(g, ALL_GATHER, BR__I(BR_GROUP_TP, 1, tp, br__tp_rank(g)), y);
    return BR__OP(g, INTERLEAVE, BR__I(tp), y);
}

/* E * sum over experts of (share of choices) * (mean probability), over all layers and tokens. */
static br_val aux_loss(struct br_graph *g, struct br__build *b)
{
    double n = (double)(b->n_moe * b->n_tokens), experts = (double)b->cfg->n_experts;
    int64_t e = b->cfg->n_experts;
    br_val dot = BR__OP(g, DOT_ROWS, NULL, BR__RESHAPE(g, b->aux_counts, 1, e),
                        BR__RESHAPE(g, b->aux_probs, 1, e));
    return BR__RESHAPE(g, BR__OP(g, SCALE, BR__F(experts / (n * n)), dot), 1);
}

/* Multi-token prediction (DeepSeek-AI 2024, section 2.2; Megatron-LM
 * core/transformer/multi_token_prediction.py): from the final hidden state of token i and the
 * embedding of token i + 1, through a layer of its own, what the logits of token i + 2 are made of.
 */
static br_val predict_further(struct br_graph *g, struct br__build *b, br_val hidden)
{
    b->mtp_ids = build_input(g, "mtp_ids", 1, b->n_tokens, 0);
    br_val next = build_embed(g, b->mtp_ids);
    snprintf(b->prefix, sizeof b->prefix, "mtp.layers.0.");
    br_val both = BR__OP(g, CONCAT, NULL, br_rmsnorm(g, next, "enorm.weight"),
                         br_rmsnorm(g, hidden, "hnorm.weight"));
    br_val x = br__linear(g, both, "eh_proj.weight", 0, BR__SPLIT_NONE, NULL);
    b->layer = (int)b->cfg->n_layers;
    snprintf(b->prefix, sizeof b->prefix, "mtp.layers.0.transformer_layer.");
    br__layer_starts(g, b->layer);
    x = b->cfg->arch->layer(g, x, b->layer);
    br__layer_ends(g, b->layer);
    snprintf(b->prefix, sizeof b->prefix, "mtp.layers.0.");
    x = br_rmsnorm(g, x, "final_layernorm.weight");
    b->prefix[0] = '\0';
    return x;
}

/* further: what the prediction layer made, or 0. */
static void build_losses(struct br_graph *g, struct br__build *b, br_val x, br_val further)
{
    br__lm_loss(g, b, x);
    if (further)
        br__mtp_loss(g, b, further);
}

static void build_logits(struct br_graph *g, struct br__build *b, br_val x)
{
    b->logits = build_head(g, b, b->out_rows ? BR__OP(g, GATHER_ROWS, NULL, x, b->out_rows) : x);
    if (b->n_best && br__graph_has(g, BR_OP_SELECT, b->logits, b->logits))
        b->best =
            BR__OP(g, SELECT, BR__I(b->n_best, b->n_best + BR__BEST_ROOM - BR__BEST_K), b->logits);
    if (b->flags & BR__BUILD_AHEAD)
        b->advanced =
            BR__OP(g, ADVANCE, NULL, b->ids, b->positions, b->cache_rows, b->seqs, b->best);
    if (b->flags & BR__BUILD_LOSS)
        b->loss = BR__OP(g, CROSS_ENTROPY, NULL, b->logits, b->labels);
    if (b->flags & BR__BUILD_LOSS && b->n_moe)
        b->aux_loss = aux_loss(g, b);
    if (!(b->flags & BR__BUILD_MTP))
        return;
    b->mtp_logits = build_head(g, b, predict_further(g, b, x));
    if (b->flags & BR__BUILD_LOSS) {
        b->mtp_labels = build_input(g, "mtp_labels", 1, b->n_tokens, 0);
        b->mtp_loss = BR__OP(g, CROSS_ENTROPY, NULL, b->mtp_logits, b->mtp_labels);
    }
}

/* Hidden states of all tokens, then those that predict further. */
static br_val stack(struct br_graph *g, br_val x, br_val further)
{
    int64_t rows = passed_rows(g), n = br_cfg_i(g->build->cfg, BR_CFG_HIDDEN_SIZE);
    if (!further)
        return x;
    br_val both = BR__OP(g, CONCAT, NULL, BR__RESHAPE(g, x, 1, rows * n),
                         BR__RESHAPE(g, further, 1, rows * n));
    return BR__RESHAPE(g, both, 2 * rows, n);
}

/* Behind the layers of the stage: x, and what a chunk before has made with the prediction layer, or
 * 0. */
static void build_end(struct br_graph *g, struct br__build *b, const struct stage *s, br_val x,
                      br_val further)
{
    b->prefix[0] = '\0';
    if ((s->is_last || s->predicts) && !further) {
        x = br_rmsnorm(g, x, "decoder.final_layernorm.weight");
        b->hidden[b->cfg->n_layers + 1] = x;
    }
    if (!b->losses && s->is_last) {
        build_logits(g, b, x);
        return;
    }
    if (!b->losses) {
        b->sent = BR__OP(g, SEND, BR__I(BR_GROUP_PP, s->number + 1), x);
        return;
    }
    if (s->predicts)
        further = predict_further(g, b, x);
    if (s->is_last) {
        build_losses(g, b, x, further);
    } else {
        b->sent = stack(g, x, further);
        b->d_sent = passed_state(g, b, "d_hidden", s->n_out);
    }
}

static void build_layers(struct br_graph *g, struct br__build *b, const struct stage *s)
{
    const struct br__arch *arch = b->cfg->arch;
    br_val x, further = 0;
    b->first_layer = s->first;
    b->n_layers = s->n;
    if (s->is_first)
        b->hidden[0] = x = build_embed(g, b->ids);
    else
        b->received = x = build_receive(g, b, s);
    if (s->n_in > 1) {
        further = br__slice(g, x, 0, passed_rows(g), passed_rows(g));
        x = br__slice(g, x, 0, 0, passed_rows(g));
    }
    for (uint32_t i = s->first; i < s->first + s->n && !g->err.code; i++) {
        b->layer = (int)i;
        snprintf(b->prefix, sizeof b->prefix, "decoder.layers.%u.", i);
        br__layer_starts(g, i);
        b->hidden[i + 1] = x = arch->layer(g, x, (int)i);
        br__layer_ends(g, i);
    }
    build_end(g, b, s, x, further);
}

/* Sizes that the ranks of a tensor-parallel group must be able to share. */
static int check_shares(const struct br__build *b, struct br_err *err)
{
    static const uint32_t shared[] = {BR_CFG_NUM_ATTENTION_HEADS, BR_CFG_LINEAR_NUM_KEY_HEADS,
                                      BR_CFG_VOCAB_SIZE};
    uint32_t tp = b->info->topo.size[BR_AXIS_TP];
    int64_t groups = br_cfg_i(b->cfg, BR_CFG_NUM_QUERY_GROUPS);
    if (groups % tp && tp % groups)
        return br_fail(err, BR_E_USAGE, "num_query_groups %lld cannot be shared by tp %u",
                       (long long)groups, tp);
    for (size_t i = 0; i < BR_COUNTOF(shared); i++)
        if (br_cfg_i(b->cfg, shared[i]) % tp)
            return br_fail(err, BR_E_USAGE, "%s %lld cannot be shared by tp %u",
                           br__cfg_keys[shared[i]].key, (long long)br_cfg_i(b->cfg, shared[i]), tp);
    return 0;
}

static int find_stage(const struct br__build *b, struct stage *s, struct br_err *err)
{
    const struct br_topo *t = &b->info->topo;
    uint32_t number = br_topo_coord(t, b->info->rank, BR_AXIS_PP);
    const struct br__chunk *c = b->chunk;
    *s = (struct stage){.is_first = number == 0,
                        .is_last = number + 1 == t->size[BR_AXIS_PP],
                        .number = number,
                        .n_in = number > 0,
                        .n_out = 1};
    if (!c)
        return br_topo_layers(t, number, (uint32_t)b->cfg->n_layers, &s->first, &s->n, err);
    *s = (struct stage){c->first, c->n_layers,   c->embedding, c->head,
                        number,   c->n_mtp != 0, c->n_in,      BR__MAX(c->n_in, 1) + c->n_mtp};
    return 0;
}

int br__build_forward(struct br_graph *g, struct br__build *b, struct br_err *err)
{
    struct stage s;
    if (!b->cfg->arch->layer)
        return br_fail(err, BR_E_UNSUPPORTED,
                       "plugin '%s' can convert %s but not run it: it has no layer builder",
                       b->cfg->arch->plugin->name, b->cfg->arch->model_type);
    if (b->flags & BR__BUILD_MTP && b->cfg->n_mtp != 1)
        return br_fail(err, BR_E_UNSUPPORTED,
                       "the model has %lld multi-token-prediction layers; "
                       "expected 1",
                       (long long)b->cfg->n_mtp);
    int rc = check_shares(b, err);
    if (!rc)
        rc = find_stage(b, &s, err);
    if (rc)
        return rc;
    g->build = b;
    b->hidden = br__arena_alloc(&g->arena, (size_t)(b->cfg->n_layers + 2) * sizeof *b->hidden);
    b->routes = br__arena_alloc(&g->arena, (size_t)b->cfg->n_layers * sizeof *b->routes);
    if (!b->hidden || !b->routes || (b->losses && br__losses_start(g, b)))
        return br__nomem(err, "for a graph");
    make_inputs(g, b, &s);
    build_layers(g, b, &s);
    return br__graph_status(g, err);
}
