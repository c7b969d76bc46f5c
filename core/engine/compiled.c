/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* compiled.c - a rank's graph for one shape of batch: built, planned, freed. */
#include "llm.h"

int br__compiled_make(struct br__rank *r, const struct br__build *b, struct br__compiled **out,
                      struct br_err *err)
{
    *out = NULL;
    struct br__compiled *q = br__calloc(1, sizeof *q);
    if (!q)
        return br__nomem(err, "for a graph");
    q->b = *b;
    q->b.params = r->params;
    q->b.cfg = r->m->weights->cfg;
    q->b.info = r->info;
    q->b.precision = r->m->precision;
    q->g.device = &r->dev;
    if (b->losses) {
        int half = b->losses->o->values == BR_BF16;
        q->b.precision = half ? BR_BF16 : BR_F32;
        q->g.values = half ? BR_BF16 : 0;
    } else if (r->m->values == BR_BF16 && !(b->flags & BR__BUILD_GRADS)) {
        q->g.values = BR_BF16;
    }
    int rc = br__build_forward(&q->g, &q->b, err);
    if (rc) {
        br__compiled_free(q);
        return rc;
    }
    *out = q;
    return 0;
}

int br__compiled_plan(struct br__rank *r, struct br__compiled *q, const br_val *outputs, size_t n,
                      struct br_err *err)
{
    int rc = br__program_make(&q->program, &q->g, &r->dev, outputs, n, err);
    return rc ? rc : br__frame_make(&q->frame, q->program, &r->dev, r->info->comms, err);
}

void br__compiled_free(struct br__compiled *q)
{
    if (!q)
        return;
    br__frame_free(q->frame);
    br__program_free(q->program);
    br__free(q->b.states);
    br__graph_free(&q->g);
    br__free(q);
}
