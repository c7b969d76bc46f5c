/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* recompute.c - the layers or modules whose activations are recomputed in the backward pass. */
#include "build.h"

static const struct br__train_opts *opts_of(const struct br_graph *g)
{
    return g->build->losses ? g->build->losses->o : NULL;
}

void br__layer_starts(struct br_graph *g, int64_t i)
{
    const struct br__train_opts *o = opts_of(g);
    int64_t n = o && o->recompute_layers > 0 ? o->recompute_layers : 1;
    i -= g->build->first_layer;
    if (!o || g->build->in_segment)
        return;
    if (o->recompute == BR__RECOMPUTE_UNIFORM || (o->recompute == BR__RECOMPUTE_BLOCK && i < n)) {
        g->build->losses->segment = (br_val)g->n;
        g->build->in_segment = 1;
    }
}

void br__layer_ends(struct br_graph *g, int64_t i)
{
    const struct br__train_opts *o = opts_of(g);
    const struct br__build *b = g->build;
    int64_t n = o && o->recompute_layers > 0 ? o->recompute_layers : 1;
    if (!o || !b->in_segment)
        return;
    i -= b->first_layer;
    /* The MTP layer, which comes after them, is a segment of its own. */
    if (o->recompute == BR__RECOMPUTE_UNIFORM && (i + 1) % n && i + 1 < b->n_layers)
        return;
    br__recompute(g, b->losses->segment, (br_val)g->n, 0);
    g->build->in_segment = 0;
}

br_val br__module_starts(struct br_graph *g, unsigned module)
{
    const struct br__train_opts *o = opts_of(g);
    if (!o || o->recompute != BR__RECOMPUTE_SELECTIVE || !(o->recompute_modules & module) ||
        g->build->in_segment)
        return 0;
    g->build->in_segment = 1;
    return (br_val)g->n;
}

void br__module_ends(struct br_graph *g, br_val from, int all)
{
    if (!from)
        return;
    br__recompute(g, from, (br_val)g->n, all);
    g->build->in_segment = 0;
}
