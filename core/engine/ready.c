/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* ready.c - a rank's graph for one shape of batch: built, planned, freed. */
#include "llm.h"

static int nomem(struct br_err *err)
{
    return br_fail(err, BR_E_NOMEM, "out of memory for a graph");
}

int br__ready_make(struct br__rank *r, const struct br__build *b, struct br__ready **out,
                   struct br_err *err)
{
    *out = NULL;
    struct br__ready *q = br__calloc(1, sizeof *q);
    if (!q)
        return nomem(err);
    q->b = *b;
    q->b.params = r->params;
    q->b.cfg = r->m->weights->cfg;
    q->b.place = r->place;
    q->b.precision = r->m->precision;
    if (b->losses) {
        int half = b->losses->o->values == BR_BF16;
        q->b.precision = half ? BR_BF16 : BR_F32;
        q->g.values = half ? BR_BF16 : 0;
        q->g.device = &r->dev;
    }
    int rc = br__build(&q->g, &q->b, err);
    if (rc) {
        br__ready_free(q);
        return rc;
    }
    *out = q;
    return 0;
}

int br__ready_plan(struct br__rank *r, struct br__ready *q, const br_val *outputs, size_t n,
                   struct br_err *err)
{
    int rc = br__program_make(&q->program, &q->g, &r->dev, outputs, n, err);
    return rc ? rc : br__frame_make(&q->frame, q->program, &r->dev, r->place->comms, err);
}

void br__ready_free(struct br__ready *q)
{
    if (!q)
        return;
    br__frame_free(q->frame);
    br__program_free(q->program);
    br__free(q->b.states);
    br__graph_free(&q->g);
    br__free(q);
}
