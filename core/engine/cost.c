/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cost.c - what a model's run costs by count, and what its device can do by measurement. */
#include "llm.h"
#include <string.h>

/* Elements of weights that one token is multiplied with. */
static double elements_met(const struct br__compiled *q, const struct br__node *n, int is_dense)
{
    const struct br__node *w = br__node(&q->g, n->in[1]);
    double share =
        is_dense ? 1
                 : (double)br_cfg_i(q->b.cfg, BR_CFG_MOE_ROUTER_TOPK) / (double)q->b.cfg->n_experts;
    return share * (double)br__node_elems(w);
}

/* Keys and values that the last of `context` tokens sees. */
static uint64_t attention_bytes(const struct br__compiled *q, const struct br__node *n,
                                int64_t context)
{
    int64_t window = n->attr.i[0], seen = window > 0 && window < context ? window : context;
    uint64_t bytes = 0;
    for (int i = 1; i <= 2; i++) {
        const struct br__node *kv = br__node(&q->g, n->in[i]);
        bytes += (uint64_t)(seen * kv->shape[1] * kv->shape[2]) * br_dtype_size((int)kv->dtype);
    }
    return bytes;
}

static void add_node(const struct br__compiled *q, const struct br__node *n, int64_t context,
                     struct br__llm_cost *out)
{
    if (n->op == BR_OP_ATTENTION)
        out->cache_bytes += attention_bytes(q, n, context);
    int is_dense = n->op == BR_OP_MATMUL || n->op == BR_OP_LINEAR;
    if (!is_dense && n->op != BR_OP_GROUPED_MATMUL && n->op != BR_OP_EXPERTS_UP &&
        n->op != BR_OP_EXPERTS_DOWN)
        return;
    double met = elements_met(q, n, is_dense);
    out->flops_per_token += 2 * met;
    out->weight_bytes += (uint64_t)(met * br_dtype_size((int)br__node(&q->g, n->in[1])->dtype));
}

int br__llm_cost(struct br__llm_session *s, int64_t context, struct br__llm_cost *out,
                 struct br_err *err)
{
    memset(out, 0, sizeof *out);
    out->private_bytes = s->m->weights->owned_bytes;
    for (uint32_t i = 0; i < s->m->n_ranks; i++) {
        struct br__rank_session *r = &s->ranks[i];
        const struct br__build b = br__batch_shape(s, 1, 1);
        struct br__compiled *q;
        int rc = br__compiled_get(r, &b, &q, err);
        if (rc)
            return rc;
        for (br_val v = 1; v < q->g.n; v++)
            if (br__program_runs(q->program, v))
                add_node(q, br__node(&q->g, v), context, out);
        out->private_bytes += br__device_bytes(&r->rank->dev);
        for (size_t k = 0; k < r->n_compiled; k++)
            out->private_bytes += br__frame_bytes(r->compiled[k]->frame);
        for (size_t k = 0; k < r->n_caches; k++)
            out->private_bytes += r->caches[k].bytes;
    }
    return 0;
}

int br__llm_roofline(struct br__llm *m, struct br_roofline *out, struct br_err *err)
{
    const struct br__device *d = &m->ranks[0].dev;
    const struct br__source *largest = NULL;
    for (size_t i = 0; i < m->weights->n_sources; i++) {
        const struct br__source *s = &m->weights->sources[i];
        if (s->data && (!largest || s->rows * s->cols > largest->rows * largest->cols))
            largest = s;
    }
    if (!d->backend.roofline)
        return br_fail(err, BR_E_UNSUPPORTED, "backend '%s' cannot measure its ceilings",
                       d->backend.name);
    size_t n =
        largest ? (size_t)(largest->rows * largest->cols) * br_dtype_size(largest->dtype) : 0;
    /* Far larger than any cache, and where the device can read it. */
    int enough = n >= (size_t)1 << 28 && br__device_is_host(d);
    int rc =
        d->backend.roofline(d->device, enough ? largest->data : NULL, enough ? n : 0, out, err);
    uint32_t devices = d->backend.count ? m->n_ranks : 1; /* ranks of the CPU share it */
    out->read_bytes *= devices;
    out->matmul_flops *= devices;
    out->f32_flops *= devices;
    return rc;
}
