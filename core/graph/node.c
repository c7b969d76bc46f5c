/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* node.c - looking at the nodes of a graph. */
#include "graph.h"

const struct br__node *br__node(const struct br_graph *g, br_val v)
{
    static const struct br__node poison;
    return v < g->n ? &g->nodes[v] : &poison;
}

int64_t br__node_elems(const struct br__node *n)
{
    int64_t e = 1;
    for (uint32_t i = 0; i < n->n_dim; i++)
        e *= n->shape[i];
    return e;
}
