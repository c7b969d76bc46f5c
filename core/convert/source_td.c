/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* source_td.c - a Megatron torch_dist checkpoint as a model to be read: the tensors are the pieces
 * of the plan that an export would make, and are gathered as an export would write them. */
#include "job.h"

#include <string.h>

struct td_source {
    struct br__model_source base;
    struct br__session *session;
};

static int td_read(const struct br__model_source *s, const struct br__source_tensor *t,
                   uint64_t off, void *dst, size_t n, struct br__scratch *scratch,
                   struct br_err *err)
{
    return br__piece_read(((const struct td_source *)s)->session->plan, t->from, off, dst, n,
                          scratch, err);
}

static const void *td_map(const struct br__model_source *s, const struct br__source_tensor *t)
{
    (void)s;
    (void)t;
    return NULL; /* rows lie in another order */
}

static void td_close(struct br__model_source *s)
{
    struct td_source *d = (struct td_source *)s;
    br__session_close(d->session);
    br__free(d);
}

static const struct br__source_ops td_ops = {td_read, td_map, td_close};

static int list_tensors(struct td_source *d, struct br_err *err)
{
    const struct br__plan *plan = d->session->plan;
    struct br__source_tensor *list =
        br__arena_alloc(&d->session->arena, (plan->n_pieces + 1) * sizeof *list);
    if (!list)
        return br__nomem(err, "opening the model");
    for (size_t i = 0; i < plan->n_pieces; i++) {
        const struct br__plan_out *o = &plan->outs[plan->pieces[i].out];
        list[i] = (struct br__source_tensor){
            .name = o->name, .dtype = o->dtype, .ndim = o->ndim, .from = (uint32_t)i};
        memcpy(list[i].shape, o->shape, sizeof list[i].shape);
    }
    d->base.tensors = list;
    d->base.n_tensors = plan->n_pieces;
    return BR_OK;
}

static int td_open(struct td_source *d, const struct br__source_opts *o, struct br_err *err)
{
    const struct br_job job = {.struct_size = sizeof job,
                               .flags = BR_JOB_PER_EXPERT | (o->no_verify ? BR_JOB_NO_VERIFY : 0),
                               .hf_model = o->hf_model,
                               .megatron_path = o->megatron_path,
                               .plugin = o->plugin,
                               .threads = o->threads,
                               .listener = o->listener};
    int rc = br__session_open(&d->session, &job, BR__EXPORT, err);
    if (rc)
        return rc;
    const struct br__session *s = d->session;
    d->base.registry = s->registry;
    d->base.cfg = &s->cfg;
    d->base.untied = s->plan->b.untied;
    d->base.config_text = s->config_text;
    d->base.generation_text = s->generation_text;
    d->base.dir = s->src->dir;
    d->base.ref_dir = s->ref ? s->ref->dir : NULL;
    return list_tensors(d, err);
}

int br__source_open_td(struct br__model_source **out, const struct br__source_opts *o,
                       struct br_err *err)
{
    *out = NULL;
    struct td_source *d = br__calloc(1, sizeof *d);
    if (!d)
        return br__nomem(err, "opening the model");
    d->base.ops = &td_ops;
    int rc = td_open(d, o, err);
    if (rc)
        td_close(&d->base);
    else
        *out = &d->base;
    return rc;
}
