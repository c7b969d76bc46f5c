/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train_io.c - what a micro batch brings to a graph, and what is read from it.
 *
 * What micro batches of a shape differ in, the weights of their losses among it, is an input. */
#include "trainer.h"
#include <string.h>

/* ---- inputs ---------------------------------------------------------------------------------- */

/* Megatron's roll: token i + 1 in place of token i, 0 at the end of each sequence, where there is
 * no target. */
static void fill_mtp(const struct br__rank_trainer *t, const struct br__train_pass *p,
                     struct br__frame *f, const struct br__micro *mb)
{
    const struct br__build *b = &p->compiled->b;
    int32_t *ids = br__frame_input(f, b->mtp_ids);
    int32_t *labels = br__frame_input(f, b->mtp_labels);
    float *weights = br__frame_input(f, p->losses.mtp.weights);
    float each = mb->mtp_scale / (float)BR__MAX(mb->n_tokens - mb->n_seqs, 1);
    for (int64_t i = 0; i < p->n_tokens; i++) {
        const struct br__train_row *r = &t->rows[i];
        if (ids)
            ids[i] = r->has_next ? mb->ids[r->token + 1] : 0;
        if (labels)
            labels[i] = r->has_next ? mb->labels[r->token + 1] : -1;
        if (weights)
            weights[i] = r->has_next ? each : 0;
    }
}

static void fill_tokens(const struct br__rank_trainer *t, const struct br__train_pass *p,
                        struct br__frame *f, const struct br__micro *mb)
{
    const struct br__build *b = &p->compiled->b;
    int32_t *ids = br__frame_input(f, b->ids);
    int32_t *labels = br__frame_input(f, b->labels);
    int32_t *positions = br__frame_input(f, b->positions);
    float *weights = br__frame_input(f, p->losses.lm.weights);
    for (int64_t i = 0; i < p->n_tokens; i++) {
        const struct br__train_row *r = &t->rows[i];
        float mask = r->token >= 0 ? mb->mask[r->token] : 0;
        if (ids)
            ids[i] = r->token >= 0 ? mb->ids[r->token] : 0;
        if (labels)
            labels[i] = mask != 0 ? mb->labels[r->token] : -1;
        if (positions)
            positions[i] = r->token >= 0 && mb->positions ? mb->positions[r->token] : r->pos;
        if (weights)
            weights[i] = mask * mb->loss_scale;
    }
}

static int64_t aux_tokens(const struct br__rank_trainer *t, const struct br__micro *mb)
{
    if (t->o->aux_kind == BR__AUX_GLOBAL)
        return mb->n_tokens * t->rank->m->topo.size[BR_AXIS_DP];
    return t->o->aux_kind == BR__AUX_SEQ ? mb->n_tokens / mb->n_seqs : mb->n_tokens;
}

/* What makes the sum over experts of count * probabilities the loss that Megatron logs. */
static double aux_factor(const struct br__rank_trainer *t, uint32_t chunk,
                         const struct br__micro *mb)
{
    const struct br_config *cfg = t->rank->m->weights->cfg;
    double n = (double)aux_tokens(t, mb), k = (double)br_cfg_i(cfg, BR_CFG_MOE_ROUTER_TOPK);
    double f = (double)cfg->n_experts / (n * n * k);
    if (t->o->aux_kind == BR__AUX_SEQ)
        f /= (double)mb->n_seqs;
    return t->o->aux_kind == BR__AUX_GLOBAL ? f / (double)(t->n_past[chunk] + 1) : f;
}

/* t->rows: of this micro batch. */
static int place_rows(struct br__rank_trainer *t, const struct br__train_pass *p,
                      const struct br__micro *mb, struct br_err *err)
{
    if (p->n_tokens > t->cap_rows) {
        br__free(t->rows);
        t->cap_rows = p->n_tokens;
        t->rows = br__alloc((size_t)t->cap_rows * sizeof *t->rows);
    }
    if (!t->rows)
        return br__nomem(err, "for training");
    br__train_map(t, mb, t->rows, p->n_tokens);
    return 0;
}

static uint32_t number_of(const struct br__rank_trainer *t, const struct br__micro *mb, int64_t row)
{
    int32_t token = t->rows[row].token;
    return token >= 0 ? (uint32_t)mb->numbers[token] : 0;
}

/* State of DROPOUT, with the numbers of rows [from, from + n) of the graph's. */
static void put_dropout(const struct br__rank_trainer *t, const struct br__micro *mb,
                        int32_t *state, int64_t from, int64_t n)
{
    if (!state)
        return;
    state[0] = (int32_t)(uint32_t)mb->dropout_key;
    state[1] = (int32_t)(uint32_t)(mb->dropout_key >> 32);
    for (int64_t i = 0; i < n; i++)
        state[2 + i] = (int32_t)number_of(t, mb, from + i);
}

/* Of each of k choices of the same rows its number: two floats, whose bits all fit. */
static void put_choices(const struct br__rank_trainer *t, const struct br__micro *mb,
                        float *choices, int64_t from, int64_t n)
{
    int64_t k = br_cfg_i(t->rank->m->weights->cfg, BR_CFG_MOE_ROUTER_TOPK);
    for (int64_t i = 0; i < n * k && choices; i++) {
        int64_t number = (int64_t)number_of(t, mb, from + i / k) * k + i % k;
        choices[2 * i] = (float)(number / 65536);
        choices[2 * i + 1] = (float)(number % 65536);
    }
}

static void fill_dropout(const struct br__rank_trainer *t, const struct br__train_pass *p,
                         struct br__frame *f, const struct br__micro *mb)
{
    const struct br__rank_info *info = t->rank->info;
    int64_t own = p->n_tokens / info->topo.size[BR_AXIS_TP];
    int64_t rank = br_topo_coord(&info->topo, info->rank, BR_AXIS_TP);
    put_dropout(t, mb, br__frame_input(f, p->losses.dropout), 0, 0);
    put_dropout(t, mb, br__frame_input(f, p->losses.dropout_rows), 0, p->n_tokens);
    put_dropout(t, mb, br__frame_input(f, p->losses.dropout_own), own * rank, own);
    put_choices(t, mb, br__frame_input(f, p->losses.dropout_choices), own * rank, own);
}

int br__train_fill(struct br__rank_trainer *t, const struct br__train_pass *p, struct br__frame *f,
                   const struct br__micro *mb, struct br_err *err)
{
    const struct br__losses *l = &p->losses;
    float *aux = br__frame_input(f, l->aux_weight);
    float *z = br__frame_input(f, l->z_weight);
    size_t experts = (size_t)t->rank->m->weights->cfg->n_experts;
    int rc = place_rows(t, p, mb, err);
    if (rc)
        return rc;
    br__train_fill_seqs(t, p, f, mb);
    fill_tokens(t, p, f, mb);
    fill_dropout(t, p, f, mb);
    if (p->compiled->b.mtp_ids || p->losses.mtp.loss)
        fill_mtp(t, p, f, mb);
    if (aux)
        *aux = (float)(mb->aux_scale * t->o->aux_coeff * aux_factor(t, p->chunk, mb));
    if (z)
        *z = (float)(mb->aux_scale * t->o->z_coeff / (double)mb->n_tokens);
    for (size_t i = 0; i < l->n_moe; i++) {
        float *past = br__frame_input(f, l->moe[i].past);
        if (past)
            memcpy(past, t->past + (t->moe_from[p->chunk] + i) * experts, experts * sizeof *past);
    }
    return 0;
}

/* ---- results --------------------------------------------------------------------------------- */

/* Sum of mask * loss of all tokens; mask NULL: ones. */
static int sum_losses(const struct br__rank_trainer *t, const struct br__train_pass *p,
                      const struct br__frame *f, br_val loss, const float *mask, double *sum,
                      struct br_err *err)
{
    float *x = br__alloc((size_t)p->n_tokens * sizeof *x);
    int rc = x ? br__frame_read(f, loss, x, err) : br__nomem(err, "for training");
    *sum = 0;
    for (int64_t i = 0; i < p->n_tokens && !rc; i++)
        if (t->rows[i].token >= 0)
            *sum += mask ? (double)mask[t->rows[i].token] * x[i] : x[i];
    br__free(x);
    return rc;
}

int br__train_read_moe(struct br__rank_trainer *t, const struct br__train_pass *p,
                       const struct br__frame *f, const struct br__micro *mb, size_t k,
                       struct br_err *err)
{
    const struct br__losses *l = &p->losses;
    size_t experts = (size_t)t->rank->m->weights->cfg->n_experts, from = t->moe_from[p->chunk];
    double factor = l->n_moe ? aux_factor(t, p->chunk, mb) : 0;
    double *aux = t->aux + k * t->n_moe + from, *z = t->z + k * t->n_moe + from;
    int rc = 0;
    for (size_t i = 0; i < l->n_moe && !rc; i++) {
        const struct br__moe_losses *m = &l->moe[i];
        float sum;
        if (m->all_aux && !(rc = br__frame_read(f, m->all_aux, &sum, err)))
            aux[i] = sum * factor;
        if (m->all_z && !rc && !(rc = br__frame_read(f, m->all_z, &sum, err)))
            z[i] = sum / (double)mb->n_tokens;
        if (!m->past || !p->backward || rc)
            continue;
        rc = br__frame_read(f, m->counts, t->row, err);
        for (size_t e = 0; e < experts && !rc; e++)
            t->past[(from + i) * experts + e] += t->row[e];
    }
    t->n_past[p->chunk] += p->backward && !rc;
    return rc;
}

int br__train_read_losses(struct br__rank_trainer *t, const struct br__train_pass *p,
                          const struct br__frame *f, const struct br__micro *mb,
                          struct br__micro_out *out, struct br_err *err)
{
    const struct br__losses *l = &p->losses;
    int rc = place_rows(t, p, mb, err);
    if (!rc && l->lm.loss)
        rc = sum_losses(t, p, f, l->lm.loss, mb->mask, &out->loss_sum, err);
    if (rc || !l->mtp.loss)
        return rc;
    rc = sum_losses(t, p, f, l->mtp.loss, NULL, &out->mtp, err);
    out->mtp /= (double)BR__MAX(mb->n_tokens - mb->n_seqs, 1);
    return rc;
}

/* d[rows of all parts] is added where it belongs. */
static int add_gradient(struct br__rank_trainer *t, const struct br__param *param, const float *d,
                        struct br_err *err)
{
    int rc = 0;
    for (size_t i = 0; i < param->n_parts && !rc; i++) {
        const struct br__part *q = &param->parts[i];
        size_t n = (size_t)(q->n_rows * q->n_cols);
        float *to = br__dstore_grad(&t->dstore, &t->store, br__store_grad(&t->store, q));
        rc = br__dstore_add(&t->dstore, to, d, n, err);
        d += n;
    }
    return rc;
}

static int add_values(struct br__rank_trainer *t, const struct br__train_pass *p,
                      const struct br__frame *f, struct br_err *err)
{
    int rc = 0;
    for (size_t i = 0; i < p->n_params && !rc; i++) {
        if (!p->grad[i] || p->leaf[i])
            continue;
        float *d =
            br__alloc((size_t)br__node_elems(br__node(&p->compiled->g, p->grad[i])) * sizeof *d);
        rc = d ? br__frame_read(f, p->grad[i], d, err) : br__nomem(err, "for training");
        if (!rc)
            rc = add_gradient(t, t->rank->params->list[i], d, err);
        br__free(d);
    }
    return rc;
}

int br__train_add_gradients(struct br__rank_trainer *t, const struct br__train_pass *p,
                            const struct br__frame *f, struct br_err *err)
{
    int rc = add_values(t, p, f, err);
    return !rc && t->o->grads == BR_BF16 ? br__dstore_round(&t->dstore, &t->store, err) : rc;
}
