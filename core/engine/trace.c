/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* trace.c - one forward and backward pass without caches, with everything that it made: logits,
 * hidden states, losses, gradients by Hugging Face name (backward.c makes them). */
#include "llm.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct job {
    const struct br__trace_opts *o;
    struct br__trace *out;
    pthread_mutex_t lock; /* ranks add to `out` */
};

/* ---- results --------------------------------------------------------------------------------- */

const struct br__named *br__trace_find(const struct br__trace *t, const char *name)
{
    uint32_t i = t->n ? br__map_get(&t->by_name, name) : BR__NOT_FOUND;
    return i == BR__NOT_FOUND ? NULL : &t->list[i];
}

size_t br__named_elems(const struct br__named *r)
{
    size_t n = 1;
    for (int i = 0; i < r->ndim; i++)
        n *= (size_t)r->shape[i];
    return n;
}

void br__trace_free(struct br__trace *t)
{
    for (size_t i = 0; i < t->n; i++)
        br__free(t->list[i].data);
    br__free(t->list);
    br__free(t->routes);
    br__map_free(&t->by_name);
    br__arena_free(&t->arena);
    memset(t, 0, sizeof *t);
}

/* The result of that name, made of zeros when it is new. */
static struct br__named *trace_result(struct br__trace *t, const char *name, int ndim,
                                      const int64_t *shape)
{
    const struct br__named *old = br__trace_find(t, name);
    if (old)
        return &t->list[old - t->list];
    if (br__grow(&t->list, &t->cap, t->n, sizeof *t->list))
        return NULL;
    struct br__named *r = &t->list[t->n];
    *r = (struct br__named){.name = br__arena_strdup(&t->arena, name), .ndim = ndim};
    memcpy(r->shape, shape, (size_t)ndim * sizeof *shape);
    r->data = br__calloc(br__named_elems(r), sizeof(float));
    if (!r->name || !r->data || (!t->n && br__map_init(&t->by_name, 64)) ||
        br__map_put(&t->by_name, r->name, (uint32_t)t->n)) {
        br__free(r->data);
        return NULL;
    }
    t->n++;
    return r;
}

/* Results of one rank, while it holds the lock. */
struct sink {
    struct job *j;
    const struct br__compiled *q;
    double share; /* of a value that data-parallel ranks average */
    struct br_err *err;
};

/* The value as the device has it, rows one after another; the caller frees it. */
static float *values_of(const struct sink *s, br_val v)
{
    size_t n = (size_t)br__node_elems(br__node(&s->q->g, v));
    float *x = br__alloc(n * sizeof *x);
    if (!x)
        (void)br__nomem(s->err, "for the results of a pass");
    else if (!br__frame_read(s->q->frame, v, x, s->err))
        return x;
    br__free(x);
    return NULL;
}

static int put_value(const struct sink *s, const char *name, br_val v, double scale)
{
    const struct br__node *n = br__node(&s->q->g, v);
    struct br__named *r = trace_result(s->j->out, name, (int)n->n_dim, n->shape);
    if (!r)
        return br__nomem(s->err, "for the results of a pass");
    float *x = values_of(s, v);
    for (int64_t i = 0; x && i < br__node_elems(n); i++)
        r->data[i] += (float)(x[i] * scale);
    br__free(x);
    return x ? 0 : BR_E_NOMEM;
}

/* ---- gradients ------------------------------------------------------------------------------- */

/* Add d, the gradient of a param, to the results of its sources. */
static int add_grad(const struct sink *s, const struct br__param *p, const char *prefix,
                    const float *d)
{
    for (size_t i = 0; i < p->n_parts; i++) {
        const struct br__part *q = &p->parts[i];
        char name[256];
        snprintf(name, sizeof name, "%s%s", prefix, q->source->name);
        struct br__named *r = trace_result(s->j->out, name, q->source->ndim, q->source->shape);
        if (!r)
            return br__nomem(s->err, "for the results of a pass");
        for (int64_t row = 0; row < q->n_rows; row++, d += q->n_cols) {
            float *to = r->data + (q->row + row) * q->source->cols + q->col;
            for (int64_t c = 0; c < q->n_cols; c++)
                to[c] += (float)(d[c] * s->share);
        }
    }
    return 0;
}

/* grad: the gradient of the param, or 0. */
static int put_grad(const struct sink *s, const struct br__param *p, const char *prefix,
                    br_val grad)
{
    if (!grad)
        return 0;
    float *d = values_of(s, grad);
    int rc = d ? add_grad(s, p, prefix, d) : BR_E_NOMEM;
    br__free(d);
    return rc;
}

/* ---- one rank -------------------------------------------------------------------------------- */

/* What token i should be followed by; -1: not counted. */
static int32_t trace_label(const struct br__trace_opts *o, uint32_t dp, int64_t i)
{
    if (o->labels)
        return i < o->n ? o->labels[dp][i] : -1;
    return i + 1 < o->n ? o->ids[dp][i + 1] : -1;
}

static void fill_inputs(const struct br__rank *r, const struct br__compiled *q,
                        const struct br__trace_opts *o)
{
    uint32_t dp = br_topo_coord(&r->m->topo, r->info->rank, BR_AXIS_DP);
    const int32_t *ids = o->ids[dp];
    const int32_t seq[5] = {0, (int32_t)o->n, 0, (int32_t)o->n, 0};
    int32_t *seqs = br__frame_input(q->frame, q->b.seqs);
    int32_t *positions = br__frame_input(q->frame, q->b.positions);
    int32_t *in = br__frame_input(q->frame, q->b.ids);
    int32_t *next = br__frame_input(q->frame, q->b.labels);
    int32_t *mtp_in = br__frame_input(q->frame, q->b.mtp_ids);
    int32_t *after = br__frame_input(q->frame, q->b.mtp_labels);
    if (seqs)
        memcpy(seqs, seq, sizeof seq);
    for (int64_t i = 0; i < o->n; i++) {
        if (positions)
            positions[i] = (int32_t)i;
        if (in)
            in[i] = ids[i];
        if (next)
            next[i] = trace_label(o, dp, i);
        if (mtp_in) /* Megatron's roll leaves a zero behind */
            mtp_in[i] = i + 1 < o->n ? ids[i + 1] : 0;
        if (after)
            after[i] = trace_label(o, dp, i + 1);
    }
    int64_t topk = br_cfg_i(q->b.cfg, BR_CFG_MOE_ROUTER_TOPK);
    for (int64_t i = 0; o->routes && i < q->b.cfg->n_layers; i++)
        if (q->b.routes[i])
            memcpy(br__frame_input(q->frame, q->b.routes[i]), o->routes + i * o->n * topk,
                   (size_t)(o->n * topk) * sizeof *o->routes);
}

/* Results that one rank of a group speaks for: values that all its ranks hold alike. */
static int put_values(const struct sink *s)
{
    const struct br__build *b = &s->q->b;
    const struct br__trace_opts *o = s->j->o;
    struct br__trace *out = s->j->out;
    char name[32];
    int rc = b->logits ? put_value(s, "logits", b->logits, 1) : 0;
    if (!rc && b->mtp_logits)
        rc = put_value(s, "mtp.logits", b->mtp_logits, 1);
    for (int64_t i = 0; i < b->cfg->n_layers + 2 && o->flags & BR__TRACE_HIDDEN && !rc; i++) {
        if (i <= b->cfg->n_layers)
            snprintf(name, sizeof name, "hidden.%lld", (long long)i);
        else
            snprintf(name, sizeof name, "hidden.norm");
        if (b->hidden[i])
            rc = put_value(s, name, b->hidden[i], 1);
    }
    for (int64_t i = 0; i < b->cfg->n_layers && out->routes && !rc; i++)
        if (b->routes[i])
            rc = br__frame_read_i32(s->q->frame, b->routes[i], out->routes + i * o->n * out->topk,
                                    s->err);
    return rc;
}

/* Gradients of every loss, param by param. */
static int put_grads(const struct sink *s, const struct br__rank *r, const struct br__pass *p)
{
    static const char *const prefix[BR__N_ROOTS] = {"grad.", "grad_aux.", "grad_mtp."};
    const struct br_topo *t = &r->m->topo;
    int first_tp = br_topo_coord(t, r->info->rank, BR_AXIS_TP) == 0;
    int rc = 0;
    for (size_t i = 0; i < p->n_params; i++) {
        const struct br__param *param = r->params->list[i];
        for (int k = 0; k < BR__N_ROOTS && !rc && (first_tp || !param->shared); k++)
            rc = put_grad(s, param, prefix[k], p->grad[k] ? p->grad[k][i] : 0);
    }
    return rc;
}

static int put_results(const struct sink *s, const struct br__rank *r, const struct br__pass *p)
{
    const struct br_topo *t = &r->m->topo;
    const struct br__build *b = &s->q->b;
    int first_tp = br_topo_coord(t, r->info->rank, BR_AXIS_TP) == 0;
    int first_dp = br_topo_coord(t, r->info->rank, BR_AXIS_DP) == 0;
    int rc = first_tp && first_dp ? put_values(s) : 0;
    if (!rc && first_tp && b->loss)
        rc = put_value(s, "loss", b->loss, s->share);
    if (!rc && first_tp && b->aux_loss && s->j->o->flags & BR__TRACE_AUX)
        rc = put_value(s, "aux_loss", b->aux_loss, s->share);
    if (!rc && first_tp && b->mtp_loss)
        rc = put_value(s, "mtp.loss", b->mtp_loss, s->share);
    return rc ? rc : put_grads(s, r, p);
}

static struct br__pass_shape shape_of(const struct br__trace_opts *o)
{
    const unsigned losses = BR__TRACE_LOSS | BR__TRACE_GRADS | BR__TRACE_AUX;
    struct br__pass_shape s = {.n_tokens = o->n,
                               .build = (o->flags & losses ? BR__BUILD_LOSS : 0u) |
                                        (o->flags & BR__TRACE_MTP ? BR__BUILD_MTP : 0u) |
                                        (o->routes ? BR__BUILD_ROUTES_GIVEN : 0u),
                               .hidden = (o->flags & BR__TRACE_HIDDEN) != 0,
                               .aux_loss = (o->flags & BR__TRACE_AUX) != 0};
    if (o->flags & BR__TRACE_GRADS)
        s.roots = 1u << BR__ROOT_LM | 1u << BR__ROOT_MTP |
                  (o->flags & BR__TRACE_AUX ? 1u << BR__ROOT_AUX : 0u);
    return s;
}

static int run_rank(struct br__rank *r, void *arg, struct br_err *err)
{
    struct job *j = arg;
    struct br__pass *p;
    const struct br__pass_shape shape = shape_of(j->o);
    int rc = br__pass_get(r, &shape, &p, err);
    if (rc)
        return rc;
    fill_inputs(r, p->compiled, j->o);
    rc = br__frame_run(p->compiled->frame, err);
    if (rc)
        return rc;
    const struct sink s = {j, p->compiled, 1.0 / r->m->topo.size[BR_AXIS_DP], err};
    pthread_mutex_lock(&j->lock);
    rc = put_results(&s, r, p);
    pthread_mutex_unlock(&j->lock);
    return rc;
}

/* ---- results of all processes ---------------------------------------------------------------- */

struct head {
    char name[256];
    int64_t shape[BR_MAX_DIMS];
    int32_t ndim, reserved;
};

/* Add result i of process `root` to `total`, on every process; own: this process's results. */
static int gather_one(const struct br__trace *own, size_t i, uint32_t root, struct br__trace *total,
                      struct br_err *err)
{
    const struct br__named *mine = root == br__procs_rank() ? &own->list[i] : NULL;
    struct head h = {0};
    if (mine) {
        snprintf(h.name, sizeof h.name, "%s", mine->name);
        memcpy(h.shape, mine->shape, sizeof h.shape);
        h.ndim = mine->ndim;
    }
    int rc = br__procs_share(&h, sizeof h, root, err);
    struct br__named *to = rc ? NULL : trace_result(total, h.name, h.ndim, h.shape);
    size_t n = to ? br__named_elems(to) : 0;
    float *x = mine ? mine->data : br__alloc(n * sizeof *x);
    if (!rc)
        rc = br__procs_agree(to && x ? 0 : br__nomem(err, "for the results of a pass"), err);
    if (!rc)
        rc = br__procs_share(x, n * sizeof *x, root, err);
    for (size_t k = 0; k < n && !rc; k++)
        to->data[k] += x[k];
    if (!mine)
        br__free(x);
    return rc;
}

static int gather_list(struct br__trace *out, struct br_err *err)
{
    struct br__trace total = {0};
    int rc = 0;
    for (uint32_t root = 0; root < br__procs_size() && !rc; root++) {
        uint64_t n = out->n;
        rc = br__procs_share(&n, sizeof n, root, err);
        for (uint64_t i = 0; i < n && !rc; i++)
            rc = gather_one(out, i, root, &total, err);
    }
    total.routes = out->routes;
    total.topk = out->topk;
    out->routes = NULL;
    br__trace_free(out);
    *out = total;
    return rc;
}

/* Every process gets the results of all: sums of what several have, and of the routes what is not
 * -1, which ranks of several stages have of different layers. */
static int gather_all(struct br__trace *out, size_t n_routes, struct br_err *err)
{
    if (br__procs_size() == 1)
        return 0;
    int rc = gather_list(out, err);
    int32_t *other = rc || !out->routes ? NULL : br__alloc(n_routes * sizeof *other);
    if (!rc && out->routes)
        rc = br__procs_agree(other ? 0 : br__nomem(err, "for the results of a pass"), err);
    for (uint32_t root = 0; root < br__procs_size() && other && !rc; root++) {
        memcpy(other, out->routes, n_routes * sizeof *other);
        rc = br__procs_share(other, n_routes * sizeof *other, root, err);
        for (size_t i = 0; i < n_routes; i++)
            out->routes[i] = BR__MAX(out->routes[i], other[i]);
    }
    br__free(other);
    return rc;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int trace_check(const struct br__llm *m, const struct br__trace_opts *o, struct br_err *err)
{
    int64_t vocab = br_cfg_i(m->weights->cfg, BR_CFG_VOCAB_SIZE);
    int64_t max = br_cfg_i(m->weights->cfg, BR_CFG_SEQ_LENGTH);
    if (o->n < 1 || o->n > max)
        return br_fail(err, BR_E_USAGE, "%lld tokens; expected 1 to max_position_embeddings %lld",
                       (long long)o->n, (long long)max);
    if (o->n < 2 && o->flags & (BR__TRACE_LOSS | BR__TRACE_GRADS))
        return br_fail(err, BR_E_USAGE, "a loss needs at least 2 tokens");
    if (o->n_batches != m->topo.size[BR_AXIS_DP])
        return br_fail(err, BR_E_USAGE, "%zu sequences for dp %u; expected one each", o->n_batches,
                       m->topo.size[BR_AXIS_DP]);
    for (size_t b = 0; b < o->n_batches; b++)
        for (int64_t i = 0; i < o->n; i++)
            if (o->ids[b][i] < 0 || o->ids[b][i] >= vocab)
                return br_fail(err, BR_E_USAGE, "token id %d is outside the vocabulary of %lld",
                               o->ids[b][i], (long long)vocab);
    return 0;
}

int br__llm_trace(struct br__llm *m, const struct br__trace_opts *o, struct br__trace *out,
                  struct br_err *err)
{
    memset(out, 0, sizeof *out);
    int rc = trace_check(m, o, err);
    if (rc)
        return rc;
    const struct br_config *cfg = m->weights->cfg;
    size_t n_routes = 0;
    if (cfg->n_experts) {
        out->topk = br_cfg_i(cfg, BR_CFG_MOE_ROUTER_TOPK);
        n_routes = (size_t)(cfg->n_layers * o->n * out->topk);
        if (!(out->routes = br__alloc(n_routes * sizeof *out->routes)))
            return br__nomem(err, "for the results of a pass");
        memset(out->routes, 0xff, n_routes * sizeof *out->routes);
    }
    struct job j = {.o = o, .out = out};
    pthread_mutex_init(&j.lock, NULL);
    rc = br__ranks_run(m, run_rank, &j, err);
    pthread_mutex_destroy(&j.lock);
    if (!rc)
        rc = gather_all(out, n_routes, err);
    const struct br__named *logits = rc ? NULL : br__trace_find(out, "logits");
    if (logits)
        rc = br__llm_check_finite(m, logits->data, (size_t)(logits->shape[0] * logits->shape[1]),
                                  err);
    if (rc)
        br__trace_free(out);
    return rc;
}
