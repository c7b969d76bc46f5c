/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train_pass.c - the graphs of a rank's passes in training: from tokens or hidden states to losses
 * or hidden states, and back, with gradients that are added to those of the store.
 *
 * One graph serves all micro batches of a shape.  Where stages of a pipeline work on several at
 * once, each has a frame of its own. */
#include "trainer.h"
#include <string.h>

#define KEPT_GRAPHS 8
#define ROWS 64     /* of a graph: a multiple of it */
#define SEQUENCES 8 /* so are they */

/* ---- graphs ---------------------------------------------------------------------------------- */

/* What a pass is made of. */
static void pass_drop(struct br__train_pass *p)
{
    for (size_t i = 0; i < p->n_frames; i++)
        br__frame_free(p->frames[i]);
    br__free(p->frames);
    br__compiled_free(p->compiled);
    br__free(p->grad);
    br__free(p->leaf);
    br__free(p->mark_at);
    br__free(p->mark_bank);
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
                                .chunk = t->chunks[p->chunk],
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
static size_t roots_of(const struct br__train_pass *p, struct br__root *roots)
{
    const struct br__build *b = &p->compiled->b;
    const struct br__losses *l = &p->losses;
    size_t n = 0;
    roots[n++] = b->sent ? (struct br__root){b->sent, b->d_sent} : head_root(&l->lm);
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

/* Parts [i, i + n) one behind the other in the store. */
static int is_run(const struct br__store *s, const struct br__part *q, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        if (br__store_grad(s, &q[i + 1]) - br__store_grad(s, &q[i]) != q[i].n_rows * q[i].n_cols)
            return 0;
    return 1;
}

/* The gradient's range in the store as a leaf, where it is one: parts that follow one another, and
 * experts at equal distances. */
static br_val leaf_of(const struct br__rank_trainer *t, struct br_graph *g,
                      const struct br__param *p)
{
    const struct br__part *q = p->parts;
    const size_t n = p->stored.n_dim == 3 ? (size_t)p->stored.shape[0] : 1, each = p->n_parts / n;
    ptrdiff_t step = 0;
    if (n > 1)
        step = br__store_grad(&t->store, &q[each]) - br__store_grad(&t->store, &q[0]);
    for (size_t i = 0; i < n; i++)
        if (!is_run(&t->store, &q[i * each], each) ||
            br__store_grad(&t->store, &q[i * each]) - br__store_grad(&t->store, &q[0]) !=
                (ptrdiff_t)i * step)
            return 0;
    br_val v = br__leaf(g, BR_OP_STATE, BR_F32, p->key, p->stored.n_dim, p->stored.shape);
    if (v && n > 1)
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

/* The gradient of what was received, in its dtype; zeros if nothing came back. */
static br_val as_hidden(struct br_graph *g, br_val grad, br_val received)
{
    const struct br__node *x = br__node(g, received);
    if (!grad)
        grad = br__leaf(g, BR_OP_ZEROS, BR_F32, NULL, 2, x->shape);
    return br__node(g, grad)->dtype == x->dtype ? grad : BR__OP(g, CAST, BR__I(x->dtype), grad);
}

static int add_backward(struct br__rank_trainer *t, struct br__train_pass *p, struct br_err *err)
{
    struct br_graph *g = &p->compiled->g;
    const struct br__params *params = t->rank->params;
    br_val received = p->compiled->b.received;
    size_t n = 0, n_nodes = g->n;
    struct br__want *want = br__arena_alloc(&g->arena, (params->n + 2) * sizeof *want);
    br_val *grad = br__arena_alloc(&g->arena, (params->n + 2) * sizeof *grad);
    struct br__root *roots = br__arena_alloc(&g->arena, (2 + 2 * p->losses.n_moe) * sizeof *roots);
    p->n_params = params->n;
    p->grad = br__calloc(params->n + 1, sizeof *p->grad);
    p->leaf = br__calloc(params->n + 1, sizeof *p->leaf);
    if (!want || !grad || !roots || !p->grad || !p->leaf)
        return br__nomem(err, "for training");
    g->cut = t->pp > 1 ? (br_val)n_nodes : 0;
    for (br_val v = 1; v < n_nodes; v++) {
        const struct br__param *param = br__node_param(br__node(g, v));
        if (!param || !br__is_trained(t->rank->m->weights, param))
            continue;
        p->leaf[param->index] = leaf_of(t, g, param);
        want[n++] = (struct br__want){v, p->leaf[param->index]};
    }
    if (p->losses.lm.x)
        add_heads(g, &p->losses, want, n);
    if (received)
        want[n] = (struct br__want){.leaf = received};
    int rc = br__grad(g, roots, roots_of(p, roots), want, n + (received != 0), grad, err);
    if (!rc && received)
        p->d_received = as_hidden(g, grad[n], received);
    for (size_t i = 0; i < n && !rc; i++)
        p->grad[br__node_param(br__node(g, want[i].leaf))->index] = grad[i];
    return rc;
}

/* Gradients that are added where they are made, are added to those of the store. */
static void bind_places(const struct br__rank_trainer *t, const struct br__train_pass *p,
                        struct br__frame *f)
{
    const struct br__params *params = t->rank->params;
    for (size_t i = 0; i < p->n_params; i++)
        if (p->leaf[i])
            br__frame_bind(f, p->leaf[i],
                           br__dstore_grad(&t->dstore, &t->store,
                                           br__store_grad(&t->store, params->list[i]->parts)));
}

static size_t trainer_put(br_val *out, size_t n, br_val v)
{
    if (v)
        out[n++] = v;
    return n;
}

/* All that is read after a run: *out is to be freed, NULL if there is no memory for it. */
static size_t pass_outputs(const struct br__train_pass *p, br_val **list)
{
    const struct br__losses *l = &p->losses;
    size_t n = 0;
    br_val *out = *list = br__calloc(4 + 3 * l->n_moe + p->n_params, sizeof *out);
    if (!out)
        return 0;
    n = trainer_put(out, n, p->compiled->b.sent);
    n = trainer_put(out, n, p->d_received);
    n = trainer_put(out, n, l->lm.loss);
    n = trainer_put(out, n, l->mtp.loss);
    for (size_t i = 0; i < l->n_moe; i++) {
        n = trainer_put(out, n, l->moe[i].all_aux);
        n = trainer_put(out, n, l->moe[i].all_z);
        n = trainer_put(out, n, l->moe[i].past ? l->moe[i].counts : 0);
    }
    for (size_t i = 0; i < p->n_params; i++)
        n = trainer_put(out, n, p->grad[i]);
    return n;
}

static int plan_pass(struct br__rank_trainer *t, struct br__train_pass *p, struct br_err *err)
{
    br_val *out;
    size_t n = pass_outputs(p, &out);
    struct br__compiled *q = p->compiled;
    int rc = out ? br__program_make(&q->program, &q->g, &t->rank->dev, out, n, err)
                 : br__nomem(err, "for training");
    br__free(out);
    return rc;
}

/* A graph of the shape that p has, planned. */
static int pass_make(struct br__rank_trainer *t, struct br__train_pass *p, struct br_err *err)
{
    int rc = build_pass(t, p, err);
    if (!rc && p->backward)
        rc = add_backward(t, p, err);
    if (!rc)
        rc = plan_pass(t, p, err);
    return rc ? rc : br__banks_mark(t, p, err);
}

static int new_frame(struct br__rank_trainer *t, const struct br__train_pass *p,
                     struct br__frame **out, struct br_err *err)
{
    int rc = br__dstore_place(&t->dstore, &t->store, t->rank->params, err);
    if (!rc)
        rc = br__frame_make(out, p->compiled->program, &t->rank->dev, t->rank->info->comms, err);
    if (!rc)
        bind_places(t, p, *out);
    return rc;
}

/* Room for what crosses the cut of frame number i, whose last pass is over. */
static int keep_room(struct br__rank_trainer *t, const struct br__train_pass *p, size_t i,
                     struct br_err *err)
{
    size_t n = br__program_kept(p->compiled->program);
    while (t->n_kept <= i) {
        if (br__grow(&t->kept, &t->cap_kept, t->n_kept, sizeof *t->kept))
            return br__nomem(err, "for training");
        t->kept[t->n_kept++] = (struct br__kept){0};
    }
    struct br__kept *k = &t->kept[i];
    if (n > k->bytes) {
        br__device_free(&t->rank->dev, k->memory);
        *k = (struct br__kept){br__device_alloc(&t->rank->dev, n), n};
        if (!k->memory)
            return br__nomem(err, "for activations of %zu bytes", n);
    }
    br__frame_keep(p->frames[i], k->memory);
    return 0;
}

int br__train_frame(struct br__rank_trainer *t, struct br__train_pass *p, size_t i,
                    struct br__frame **out, struct br_err *err)
{
    int rc = 0;
    while (p->n_frames <= i) {
        if (br__grow(&p->frames, &p->cap_frames, p->n_frames, sizeof *p->frames))
            return br__nomem(err, "for training");
        p->frames[p->n_frames++] = NULL;
    }
    if (!p->frames[i])
        rc = new_frame(t, p, &p->frames[i], err);
    if (!rc && br__program_kept(p->compiled->program))
        rc = keep_room(t, p, i, err);
    *out = p->frames[i];
    return rc;
}

/* Room for one more graph, in place of the least recently used one of earlier steps if there are
 * enough. */
static struct br__train_pass **place_for(struct br__rank_trainer *t)
{
    struct br__train_pass **at = NULL;
    for (size_t i = 0; i < t->n_passes; i++)
        if (t->passes[i]->used <= t->began && (!at || t->passes[i]->used < (*at)->used))
            at = &t->passes[i];
    if (at && t->n_passes >= KEPT_GRAPHS) {
        pass_free(*at);
        *at = t->passes[--t->n_passes];
    }
    if (br__grow(&t->passes, &t->cap_passes, t->n_passes, sizeof *t->passes))
        return NULL;
    return &t->passes[t->n_passes];
}

/* What a graph has room for, so that few of them serve batches of many shapes.  Rows that are not
 * used belong to no sequence and have no loss; routed layers would count them. */
static int64_t trainer_room(const struct br__rank_trainer *t, int64_t n, int64_t unit)
{
    return t->rank->m->weights->cfg->n_experts ? n : (n + unit - 1) / unit * unit;
}

/* Ranks may have to share the rows. */
int64_t br__train_rows(const struct br__rank_trainer *t, int64_t n)
{
    int64_t tp = t->rank->m->topo.size[BR_AXIS_TP];
    return trainer_room(t, n, ROWS % tp ? ROWS * tp : ROWS);
}

int br__train_pass_get(struct br__rank_trainer *t, const struct br__train_key *key,
                       struct br__train_pass **out, struct br_err *err)
{
    int64_t n_tokens = br__train_rows(t, key->n_tokens),
            n_seqs = trainer_room(t, key->n_seqs, SEQUENCES);
    for (size_t i = 0; i < t->n_passes; i++) {
        struct br__train_pass *p = t->passes[i];
        if (p->n_tokens == n_tokens && p->n_seqs == n_seqs && p->chunk == key->chunk &&
            p->backward == key->backward) {
            p->used = ++t->clock;
            *out = p;
            return 0;
        }
    }
    struct br__train_pass **at = place_for(t), *p = at ? br__calloc(1, sizeof *p) : NULL;
    if (!p)
        return br__nomem(err, "for training");
    *p = (struct br__train_pass){.n_tokens = n_tokens,
                                 .n_seqs = n_seqs,
                                 .chunk = key->chunk,
                                 .backward = key->backward,
                                 .used = ++t->clock};
    int rc = pass_make(t, p, err);
    if (rc) {
        pass_free(p);
        return rc;
    }
    t->n_passes++;
    *out = *at = p;
    return 0;
}

/* ---- for trainer.c --------------------------------------------------------------------------- */

int br__rank_probe(struct br__rank_trainer *t, struct br_err *err)
{
    int rc = 0;
    t->n_moe = 0;
    for (uint32_t c = 0; c < t->n_chunks && !rc; c++) {
        const uint32_t *n = t->rank->m->topo.size;
        struct br__train_pass probe = {
            .n_tokens = n[BR_AXIS_TP] * (n[BR_AXIS_CP] > 1 ? 2 : 1), .n_seqs = 1, .chunk = c};
        rc = build_pass(t, &probe, err);
        t->moe_from[c] = t->n_moe;
        t->n_moe += probe.losses.n_moe;
        br__compiled_free(probe.compiled);
    }
    return rc;
}

/* Of one chunk: bytes of its frames, and what they keep. */
static int chunk_bytes(struct br__rank_trainer *t, struct br__train_pass *p, uint64_t *bytes,
                       size_t *kept, struct br_err *err)
{
    int rc = pass_make(t, p, err);
    if (!rc)
        rc = br__program_bytes(p->compiled->program, &t->rank->dev, bytes, err);
    if (!rc)
        *kept = br__program_kept(p->compiled->program);
    pass_drop(p);
    return rc;
}

int br__rank_activations(struct br__rank_trainer *t, int64_t n_tokens, int64_t n_seqs,
                         uint64_t *bytes, struct br_err *err)
{
    int rc = 0;
    size_t most = 0;
    int64_t cp = t->rank->m->topo.size[BR_AXIS_CP];
    *bytes = 0;
    for (uint32_t c = 0; c < t->n_chunks && !rc; c++) {
        struct br__train_pass p = {.n_tokens = br__train_rows(t, (n_tokens + cp - 1) / cp),
                                   .n_seqs = trainer_room(t, n_seqs, SEQUENCES),
                                   .chunk = c,
                                   .backward = 1};
        uint64_t one = 0;
        size_t kept = 0;
        rc = chunk_bytes(t, &p, &one, &kept, err);
        *bytes = BR__MAX(*bytes, one);
        most = BR__MAX(most, kept);
    }
    /* As many are in flight as stages follow, at most. */
    *bytes += most * (t->pp - t->stage + (t->n_chunks - 1) * t->pp);
    return rc;
}

void br__rank_drop_passes(struct br__rank_trainer *t)
{
    for (size_t i = 0; i < t->n_passes; i++)
        pass_free(t->passes[i]);
    for (size_t i = 0; i < t->n_kept; i++)
        br__device_free(&t->rank->dev, t->kept[i].memory);
    for (size_t i = 0; i < t->n_spare; i++)
        br__device_free(&t->rank->dev, t->spare[i].memory);
    br__free(t->passes);
    br__free(t->kept);
    br__free(t->spare);
}
