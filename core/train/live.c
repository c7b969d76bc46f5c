/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* live.c - the tensors of a run as the source of an import's plan, so that there is one definition
 * of where a row of a model lies in a Megatron checkpoint. */
#include "ckpt.h"

#include <string.h>

static int name_tensors(struct br__ckpt **out, const struct br__live_model *m, struct br_err *err)
{
    struct br__arena a = {0};
    struct br__tensor *t = br__arena_alloc(&a, (m->n + 1) * sizeof *t);
    int rc = t ? BR_OK : br__nomem(err, "laying out a checkpoint");

    for (size_t i = 0; i < m->n && !rc; i++) {
        t[i].name = m->list[i].name;
        t[i].dtype = m->dtype;
        t[i].ndim = m->list[i].ndim;
        memcpy(t[i].shape, m->list[i].shape, sizeof t[i].shape);
        rc = br_shape_bytes(t[i].shape, t[i].ndim, br_dtype_size(t[i].dtype), &t[i].bytes);
        if (!rc && t[i].bytes / br_dtype_size(t[i].dtype) != m->list[i].n)
            BR_BUG("'%s' has %zu elements, which is not its shape", t[i].name, m->list[i].n);
    }
    if (!rc)
        rc = br__hf_invent(out, t, m->n, err);
    br__arena_free(&a);
    return rc;
}

/* ---- where elements are ---------------------------------------------------------------------- */

/* Stretch `row` of the run, as far as it is asked for. */
static int walk_row(struct br__live_walk *w, const struct br__live_run *r)
{
    size_t begin = r->from + w->row * r->stride;
    size_t from = BR__MAX(begin, w->from), end = BR__MIN(begin + r->n, w->end);

    if (from >= end)
        return 0;
    w->at = from;
    w->n = end - from;
    w->data = r->state[w->kind] + w->row * r->n + (from - begin);
    w->is_copy = r->is_copy;
    return 1;
}

int br__live_next(struct br__live_walk *w)
{
    const struct br__live *t = w->t;
    const struct br__live_run whole = {
        .n = t->n, .count = 1, .stride = t->n, .state = {t->state[0], t->state[1], t->state[2]}};
    size_t n_runs = t->runs ? t->n_runs : 1;

    for (; w->run < n_runs; w->run++, w->row = 0) {
        const struct br__live_run *r = t->runs ? &t->runs[w->run] : &whole;
        if (!w->row && w->from > r->from)
            w->row = (w->from - r->from) / r->stride;
        while (w->row < r->count && r->from + w->row * r->stride < w->end) {
            int found = walk_row(w, r);
            w->row++;
            if (found)
                return 1;
        }
    }
    return 0;
}

/* ---- the plan -------------------------------------------------------------------------------- */

int br__live_plan_open(struct br__live_plan *p, const struct br__live_model *m,
                       const struct br__ckpt *like, struct br_err *err)
{
    const struct br__plan_opts o = {.like = like};

    memset(p, 0, sizeof *p);
    p->cfg = *m->cfg;
    int rc = name_tensors(&p->names, m, err);
    if (!rc)
        rc = m->adapters ? br__plan_adapters(&p->plan, p->names, m->cfg->n_experts, err)
                         : br__plan_make(&p->plan, BR__IMPORT, &p->cfg, p->names, &o, err);
    if (rc) {
        br_wrap(err, "the checkpoint of a training run");
        br__live_plan_close(p);
    }
    return rc;
}

void br__live_plan_close(struct br__live_plan *p)
{
    br__plan_free(p->plan);
    br__ckpt_close(p->names);
    memset(p, 0, sizeof *p);
}
