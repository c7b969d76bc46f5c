/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train_pass.c - a micro batch through a rank's graph that ends in losses, and back: gradients are
 * added to those of the store.
 *
 * One graph serves all micro batches of a shape; what they differ in, the weights of their losses
 * among it, is an input. */
#include "trainer.h"
#include <string.h>

#define ROWS 64     /* of a graph: a multiple of it */
#define SEQUENCES 8 /* so are they */

struct br__train_pass {
    int64_t n_tokens, n_seqs; /* room for as many */
    int backward;
    struct br__losses losses;
    struct br__compiled *compiled;
    br_val *grad; /* [n_params] by param->index; 0: none */
    br_val *leaf; /* [n_params] the leaf that it is added to; 0: it is a value */
    uint64_t used;
};

/* ---- graphs ---------------------------------------------------------------------------------- */

/* What a pass is made of. */
static void pass_drop(struct br__train_pass *p)
{
    br__compiled_free(p->compiled);
    br__free(p->grad);
    br__free(p->leaf);
}

static void pass_free(struct br__train_pass *p)
{
    if (p)
        pass_drop(p);
    br__free(p);
}

static int build_pass(struct br__rank_trainer *t, struct br__train_pass *p, struct br_err *err)
{
    const struct br__build b = {.flags = BR__BUILD_ALL_LOGITS | BR__BUILD_LOSS |
                                         (t->o->mtp ? BR__BUILD_MTP : 0u),
                                .n_tokens = p->n_tokens,
                                .n_seqs = p->n_seqs,
                                .n_out = p->n_tokens,
                                .losses = &p->losses};
    p->losses.o = t->o;
    p->losses.training = p->backward;
    return br__compiled_make(t->rank, &b, &p->compiled, err);
}

static struct br__root head_root(const struct br__head_loss *h)
{
    return h->dx ? (struct br__root){h->x, h->dx} : (struct br__root){h->loss, h->weights};
}

/* Where the walk back starts. */
static size_t roots_of(const struct br__losses *l, struct br__root *roots)
{
    size_t n = 0;
    roots[n++] = head_root(&l->lm);
    if (l->mtp.loss)
        roots[n++] = head_root(&l->mtp);
    for (size_t i = 0; i < l->n_moe; i++) {
        if (l->moe[i].aux)
            roots[n++] = (struct br__root){l->moe[i].aux, l->aux_weight};
        if (l->moe[i].z)
            roots[n++] = (struct br__root){l->moe[i].z, l->z_weight};
    }
    return n;
}

/* The gradient's range in the store as a leaf, where it is one: rows and experts at equal
 * distances. */
static br_val leaf_of(const struct br__rank_trainer *t, struct br_graph *g,
                      const struct br__param *p)
{
    const struct br__part *q = p->parts;
    ptrdiff_t step = q->n_rows * q->n_cols;
    if (p->n_parts > 1)
        step = br__store_grad(&t->store, &q[1]) - br__store_grad(&t->store, &q[0]);
    for (size_t i = 1; i < p->n_parts; i++)
        if (br__store_grad(&t->store, &q[i]) - br__store_grad(&t->store, &q[i - 1]) != step)
            return 0;
    if (p->n_parts > 1 && p->stored.n_dim != 3)
        return 0;
    br_val v = br__leaf(g, BR_OP_STATE, BR_F32, p->key, p->stored.n_dim, p->stored.shape);
    if (v && p->stored.n_dim == 3)
        g->nodes[v].stride[0] = step;
    return v;
}

/* The output layers, whose weight may be trained: both heads have one. */
static void add_heads(struct br_graph *g, struct br__losses *l, struct br__want *want, size_t n)
{
    struct br__want none = {0}, *w = &none;
    for (size_t i = 0; i < n; i++)
        if (want[i].leaf == l->lm.w)
            w = &want[i];
    if (w != &none && !w->into)
        return;
    w->into = br__head_pass(g, &l->lm, w->into);
    if (l->mtp.loss)
        w->into = br__head_pass(g, &l->mtp, w->into);
}

static int add_backward(struct br__rank_trainer *t, struct br__train_pass *p, struct br_err *err)
{
    struct br_graph *g = &p->compiled->g;
    const struct br__params *params = t->rank->params;
    size_t n = 0, n_nodes = g->n;
    struct br__want *want = br__arena_alloc(&g->arena, (params->n + 1) * sizeof *want);
    br_val *grad = br__arena_alloc(&g->arena, (params->n + 1) * sizeof *grad);
    struct br__root *roots = br__arena_alloc(&g->arena, (2 + 2 * p->losses.n_moe) * sizeof *roots);
    p->grad = br__calloc(params->n + 1, sizeof *p->grad);
    p->leaf = br__calloc(params->n + 1, sizeof *p->leaf);
    if (!want || !grad || !roots || !p->grad || !p->leaf)
        return br__nomem(err, "for training");
    for (br_val v = 1; v < n_nodes; v++) {
        const struct br__param *param = br__node_param(br__node(g, v));
        if (!param || !br__is_trained(t->rank->m->weights, param))
            continue;
        p->leaf[param->index] = leaf_of(t, g, param);
        want[n++] = (struct br__want){v, p->leaf[param->index]};
    }
    add_heads(g, &p->losses, want, n);
    int rc = br__grad(g, roots, roots_of(&p->losses, roots), want, n, grad, err);
    for (size_t i = 0; i < n && !rc; i++)
        p->grad[br__node_param(br__node(g, want[i].leaf))->index] = grad[i];
    return rc;
}

/* Gradients that are added where they are made, are added to those of the store. */
static void bind_places(const struct br__rank_trainer *t, const struct br__train_pass *p)
{
    const struct br__params *params = t->rank->params;
    for (size_t i = 0; i < params->n && p->leaf; i++)
        if (p->leaf[i])
            br__frame_bind(p->compiled->frame, p->leaf[i],
                           br__offload_grad(&t->offload, &t->store, params->list[i]->parts));
}

static size_t trainer_put(br_val *out, size_t n, br_val v)
{
    if (v)
        out[n++] = v;
    return n;
}

/* All that is read after a run: *out is to be freed, NULL if there is no memory for it. */
static size_t pass_outputs(const struct br__rank_trainer *t, const struct br__train_pass *p,
                           br_val **list)
{
    const struct br__losses *l = &p->losses;
    size_t n = 0, n_params = t->rank->params->n;
    br_val *out = *list = br__calloc(2 + 3 * l->n_moe + n_params, sizeof *out);
    if (!out)
        return 0;
    n = trainer_put(out, n, l->lm.loss);
    n = trainer_put(out, n, l->mtp.loss);
    for (size_t i = 0; i < l->n_moe; i++) {
        n = trainer_put(out, n, l->moe[i].all_aux);
        n = trainer_put(out, n, l->moe[i].all_z);
        n = trainer_put(out, n, l->moe[i].past ? l->moe[i].counts : 0);
    }
    for (size_t i = 0; i < n_params && p->grad; i++)
        n = trainer_put(out, n, p->grad[i]);
    return n;
}

static int plan_pass(struct br__rank_trainer *t, struct br__train_pass *p, struct br_err *err)
{
    br_val *out;
    size_t n = pass_outputs(t, p, &out);
    int rc =
        out ? br__compiled_plan(t->rank, p->compiled, out, n, err) : br__nomem(err, "for training");
    br__free(out);
    return rc;
}

/* What it would take, without making its frame. */
static int pass_bytes(struct br__rank_trainer *t, struct br__train_pass *p, uint64_t *bytes,
                      struct br_err *err)
{
    struct br__compiled *q = p->compiled;
    br_val *out;
    size_t n = pass_outputs(t, p, &out);
    int rc = out ? br__program_make(&q->program, &q->g, &t->rank->dev, out, n, err)
                 : br__nomem(err, "for training");
    if (!rc)
        rc = br__program_bytes(q->program, &t->rank->dev, bytes, err);
    br__free(out);
    return rc;
}

/* A free slot, or that of the least recently used graph. */
static struct br__train_pass **place_for(struct br__rank_trainer *t)
{
    struct br__train_pass **at = &t->passes[0];
    for (size_t i = 0; i < BR__KEPT_GRAPHS; i++) {
        if (!t->passes[i])
            return &t->passes[i];
        if (t->passes[i]->used < (*at)->used)
            at = &t->passes[i];
    }
    pass_free(*at);
    *at = NULL;
    return at;
}

/* What a graph has room for, so that few of them serve batches of many shapes.  Rows that are not
 * used belong to no sequence and have no loss; routed layers would count them. */
static int64_t trainer_room(const struct br__rank_trainer *t, int64_t n, int64_t unit)
{
    return t->rank->m->weights->cfg->n_experts ? n : (n + unit - 1) / unit * unit;
}

/* Ranks may have to share the rows. */
static int64_t rows_room(const struct br__rank_trainer *t, int64_t n)
{
    int64_t tp = t->rank->m->topo.size[BR_AXIS_TP];
    return trainer_room(t, n, ROWS % tp ? ROWS * tp : ROWS);
}

static int pass_get(struct br__rank_trainer *t, const struct br__micro *mb, int backward,
                    struct br__train_pass **out, struct br_err *err)
{
    int64_t n_tokens = rows_room(t, mb->n_tokens), n_seqs = trainer_room(t, mb->n_seqs, SEQUENCES);
    for (size_t i = 0; i < BR__KEPT_GRAPHS; i++) {
        struct br__train_pass *p = t->passes[i];
        if (p && p->n_tokens == n_tokens && p->n_seqs == n_seqs && p->backward == backward) {
            p->used = ++t->clock;
            *out = p;
            return 0;
        }
    }
    struct br__train_pass **at = place_for(t), *p = br__calloc(1, sizeof *p);
    if (!p)
        return br__nomem(err, "for training");
    p->n_tokens = n_tokens;
    p->n_seqs = n_seqs;
    p->backward = backward;
    p->used = ++t->clock;
    int rc = build_pass(t, p, err);
    if (!rc && backward)
        rc = add_backward(t, p, err);
    if (!rc)
        rc = plan_pass(t, p, err);
    if (!rc)
        bind_places(t, p);
    if (rc) {
        pass_free(p);
        return rc;
    }
    *out = *at = p;
    return 0;
}

/* ---- inputs ---------------------------------------------------------------------------------- */

static void fill_sequences(const struct br__train_pass *p, const struct br__micro *mb)
{
    const struct br__build *b = &p->compiled->b;
    int32_t *seqs = br__frame_input(p->compiled->frame, b->seqs);
    int32_t *positions = br__frame_input(p->compiled->frame, b->positions);
    for (int64_t s = 0; s < mb->n_seqs; s++) {
        int32_t from = (int32_t)br__first_row(mb, s), n = (int32_t)br__first_row(mb, s + 1) - from;
        const int32_t row[5] = {from, n, from, n, (int32_t)s};
        if (seqs)
            memcpy(seqs + 5 * s, row, sizeof row);
        for (int32_t i = 0; positions && i < n; i++)
            positions[from + i] = mb->positions ? mb->positions[from + i] : i;
    }
    if (seqs)
        memset(seqs + 5 * mb->n_seqs, 0, (size_t)(5 * (p->n_seqs - mb->n_seqs)) * sizeof *seqs);
    for (int64_t i = mb->n_tokens; positions && i < p->n_tokens; i++)
        positions[i] = 0;
}

/* Megatron's roll: token i + 1 in place of token i, 0 at the end of each sequence, where there is
 * no target. */
static void fill_mtp(const struct br__train_pass *p, const struct br__micro *mb)
{
    const struct br__build *b = &p->compiled->b;
    int32_t *ids = br__frame_input(p->compiled->frame, b->mtp_ids);
    int32_t *labels = br__frame_input(p->compiled->frame, b->mtp_labels);
    float *weights = br__frame_input(p->compiled->frame, p->losses.mtp.weights);
    float each = mb->mtp_scale / (float)BR__MAX(mb->n_tokens - mb->n_seqs, 1);
    for (int64_t s = 0; s < mb->n_seqs; s++) {
        int64_t end = br__first_row(mb, s + 1);
        for (int64_t i = br__first_row(mb, s); i < end; i++) {
            ids[i] = i + 1 < end ? mb->ids[i + 1] : 0;
            labels[i] = i + 1 < end ? mb->labels[i + 1] : -1;
            if (weights)
                weights[i] = i + 1 < end ? each : 0;
        }
    }
    for (int64_t i = mb->n_tokens; i < p->n_tokens; i++) {
        ids[i] = 0;
        labels[i] = -1;
        if (weights)
            weights[i] = 0;
    }
}

static int64_t aux_tokens(const struct br__rank_trainer *t, const struct br__micro *mb)
{
    return t->o->aux_kind == BR__AUX_SEQ ? mb->n_tokens / mb->n_seqs : mb->n_tokens;
}

/* What makes the sum over experts of count * probabilities the loss that Megatron logs. */
static double aux_factor(const struct br__rank_trainer *t, const struct br__micro *mb)
{
    const struct br_config *cfg = t->rank->m->weights->cfg;
    double n = (double)aux_tokens(t, mb), k = (double)br_cfg_i(cfg, BR_CFG_MOE_ROUTER_TOPK);
    double f = (double)cfg->n_experts / (n * n * k);
    if (t->o->aux_kind == BR__AUX_SEQ)
        f /= (double)mb->n_seqs;
    return t->o->aux_kind == BR__AUX_GLOBAL ? f / (double)(t->n_past + 1) : f;
}

static void fill_inputs(const struct br__rank_trainer *t, const struct br__train_pass *p,
                        const struct br__micro *mb)
{
    const struct br__build *b = &p->compiled->b;
    const struct br__losses *l = &p->losses;
    int32_t *ids = br__frame_input(p->compiled->frame, b->ids);
    int32_t *labels = br__frame_input(p->compiled->frame, b->labels);
    float *weights = br__frame_input(p->compiled->frame, l->lm.weights);
    float *aux = br__frame_input(p->compiled->frame, l->aux_weight);
    float *z = br__frame_input(p->compiled->frame, l->z_weight);
    int32_t *dropout = br__frame_input(p->compiled->frame, l->dropout);
    size_t experts = (size_t)b->cfg->n_experts;
    fill_sequences(p, mb);
    if (dropout) {
        dropout[0] = (int32_t)(uint32_t)mb->dropout_key;
        dropout[1] = (int32_t)(uint32_t)(mb->dropout_key >> 32);
        dropout[2] = (int32_t)mb->first_token;
    }
    for (int64_t i = 0; i < p->n_tokens; i++) {
        float mask = i < mb->n_tokens ? mb->mask[i] : 0;
        ids[i] = i < mb->n_tokens ? mb->ids[i] : 0;
        labels[i] = mask != 0 ? mb->labels[i] : -1;
        if (weights)
            weights[i] = mask * mb->loss_scale;
    }
    if (t->o->mtp)
        fill_mtp(p, mb);
    if (aux)
        *aux = (float)(mb->aux_scale * t->o->aux_coeff * aux_factor(t, mb));
    if (z)
        *z = (float)(mb->aux_scale * t->o->z_coeff / (double)mb->n_tokens);
    for (size_t i = 0; i < l->n_moe; i++) {
        float *past = br__frame_input(p->compiled->frame, l->moe[i].past);
        if (past)
            memcpy(past, t->past + i * experts, experts * sizeof *past);
    }
}

/* ---- results --------------------------------------------------------------------------------- */

/* Sum of mask[i] * loss of token i, of the first n; mask NULL: ones. */
static int sum_losses(const struct br__train_pass *p, br_val loss, const float *mask, int64_t n,
                      double *sum, struct br_err *err)
{
    float *x = br__alloc((size_t)p->n_tokens * sizeof *x);
    int rc = x ? br__frame_read(p->compiled->frame, loss, x, err) : br__nomem(err, "for training");
    *sum = 0;
    for (int64_t i = 0; i < n && !rc; i++)
        *sum += mask ? (double)mask[i] * x[i] : x[i];
    br__free(x);
    return rc;
}

static int read_moe(struct br__rank_trainer *t, const struct br__train_pass *p,
                    const struct br__micro *mb, struct br__micro_out *out, struct br_err *err)
{
    const struct br__losses *l = &p->losses;
    const struct br__frame *f = p->compiled->frame;
    size_t experts = (size_t)t->rank->m->weights->cfg->n_experts;
    double factor = l->n_moe ? aux_factor(t, mb) : 0;
    int rc = 0;
    out->n_moe = l->n_moe;
    out->aux = l->aux_weight ? t->aux : NULL;
    out->z = l->z_weight ? t->z : NULL;
    for (size_t i = 0; i < l->n_moe && !rc; i++) {
        const struct br__moe_losses *m = &l->moe[i];
        float sum;
        if (m->all_aux && !(rc = br__frame_read(f, m->all_aux, &sum, err)))
            t->aux[i] = sum * factor;
        if (m->all_z && !rc && !(rc = br__frame_read(f, m->all_z, &sum, err)))
            t->z[i] = sum / (double)mb->n_tokens;
        if (!m->past || !p->backward || rc)
            continue;
        rc = br__frame_read(f, m->counts, t->row, err);
        for (size_t e = 0; e < experts && !rc; e++)
            t->past[i * experts + e] += t->row[e];
    }
    t->n_past += p->backward && !rc;
    return rc;
}

/* d[rows of all parts] is added where it belongs. */
static void add_gradient(const struct br__store *s, const struct br__param *param, const float *d)
{
    for (size_t i = 0; i < param->n_parts; i++) {
        const struct br__part *q = &param->parts[i];
        float *to = br__store_grad(s, q);
        size_t n = (size_t)(q->n_rows * q->n_cols);
        for (size_t k = 0; k < n; k++)
            to[k] += d[k];
        d += n;
    }
}

static int add_gradients(struct br__rank_trainer *t, const struct br__train_pass *p,
                         struct br_err *err)
{
    int rc = 0;
    for (size_t i = 0; i < t->rank->params->n && !rc; i++) {
        if (!p->grad[i] || p->leaf[i])
            continue;
        float *d =
            br__alloc((size_t)br__node_elems(br__node(&p->compiled->g, p->grad[i])) * sizeof *d);
        rc = d ? br__frame_read(p->compiled->frame, p->grad[i], d, err)
               : br__nomem(err, "for training");
        if (!rc)
            add_gradient(&t->store, t->rank->params->list[i], d);
        br__free(d);
    }
    return rc;
}

/* ---- for trainer.c --------------------------------------------------------------------------- */

int br__rank_micro(struct br__rank_trainer *t, const struct br__micro *mb, int backward,
                   struct br__micro_out *out, struct br_err *err)
{
    struct br__train_pass *p = NULL;
    int rc = pass_get(t, mb, backward != 0, &p, err);
    if (rc)
        return rc;
    fill_inputs(t, p, mb);
    rc = br__frame_run(p->compiled->frame, err);
    if (!rc)
        rc = sum_losses(p, p->losses.lm.loss, mb->mask, mb->n_tokens, &out->loss_sum, err);
    if (!rc && t->o->mtp)
        rc = sum_losses(p, p->losses.mtp.loss, NULL, mb->n_tokens, &out->mtp, err);
    out->mtp /= (double)BR__MAX(mb->n_tokens - mb->n_seqs, 1);
    if (!rc)
        rc = read_moe(t, p, mb, out, err);
    if (!rc && backward)
        rc = add_gradients(t, p, err);
    if (!rc && backward && t->o->grads == BR_BF16)
        rc = br__offload_fetch(&t->offload, &t->store, err);
    if (!rc && backward && t->o->grads == BR_BF16)
        rc = br__store_round_grads(&t->store, err);
    return rc;
}

int br__rank_probe(struct br__rank_trainer *t, struct br_err *err)
{
    struct br__train_pass probe = {.n_tokens = t->rank->m->topo.size[BR_AXIS_TP], .n_seqs = 1};
    int rc = build_pass(t, &probe, err);
    t->n_moe = probe.losses.n_moe;
    br__compiled_free(probe.compiled);
    return rc;
}

int br__rank_activations(struct br__rank_trainer *t, int64_t n_tokens, int64_t n_seqs,
                         uint64_t *bytes, struct br_err *err)
{
    struct br__train_pass p = {.n_tokens = rows_room(t, n_tokens),
                               .n_seqs = trainer_room(t, n_seqs, SEQUENCES),
                               .backward = 1};
    int rc = build_pass(t, &p, err);
    if (!rc)
        rc = add_backward(t, &p, err);
    if (!rc)
        rc = pass_bytes(t, &p, bytes, err);
    pass_drop(&p);
    return rc;
}

void br__rank_drop_passes(struct br__rank_trainer *t)
{
    for (size_t i = 0; i < BR__KEPT_GRAPHS; i++)
        pass_free(t->passes[i]);
}
