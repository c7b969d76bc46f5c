/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* graph.c - values of a graph: appended in order, each with its shape, never changed.
 *
 * The order of nodes is a topological order, since inputs exist before their users. */
#include "graph_internal.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

br_val br__graph_fail(struct br_graph *g, int code, const char *fmt, ...)
{
    if (g->err.code)
        return 0;
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)br_fail(&g->err, code, "%s", text);
    return 0;
}

int br__graph_status(const struct br_graph *g, struct br_err *err)
{
    if (g->err.code && err)
        *err = g->err;
    return g->err.code;
}

void br__graph_free(struct br_graph *g)
{
    br__free(g->nodes);
    br__free(g->segments);
    br__free(g->wide);
    br__arena_free(&g->arena);
    memset(g, 0, sizeof *g);
}

/* The MOE_ROUTE that says how many rows of n there are, or 0. */
static br_val ragged_of(const struct br_graph *g, const struct br__node *n)
{
    switch (n->op) {
    case BR_OP_EXCHANGE:
        return n->attr.i[1] ? 0 : n->in[1];
    case BR_OP_MOE_GATHER:
    case BR_OP_MOE_GATHER_GRAD:
        return br__node(g, n->in[1])->ragged;
    case BR_OP_MOE_COMBINE_DY:
        return br__node(g, n->in[2])->ragged;
    case BR_OP_MOE_ROUTE: /* the slice behind its offsets is */
    case BR_OP_MOE_COMBINE:
    case BR_OP_MOE_COMBINE_DP:
    case BR_OP_MATMUL_TN:
    case BR_OP_MATMUL_TN_ADD:
    case BR_OP_GROUPED_MATMUL_TN:
    case BR_OP_GROUPED_MATMUL_TN_ADD:
    case BR_OP_SUM_ROWS:
        return 0;
    case BR_OP_SLICE:
        if (br__node(g, n->in[0])->op == BR_OP_MOE_ROUTE)
            return n->attr.i[1] ? n->in[0] : 0;
        return br__node(g, n->in[0])->ragged;
    default:
        return n->n_in ? br__node(g, n->in[0])->ragged : 0;
    }
}

/* Append a copy of n after running its shape rule. */
static br_val graph_append(struct br_graph *g, struct br__node *n)
{
    if (g->err.code)
        return 0;
    for (int first = g->n == 0; first >= 0; first--)
        if (br__grow(&g->nodes, &g->cap, g->n, sizeof *g->nodes))
            return br__graph_fail(g, BR_E_NOMEM, "out of memory for a graph of %zu nodes", g->n);
        else if (first)
            memset(&g->nodes[g->n++], 0, sizeof *g->nodes);
    n->base = (br_val)g->n;
    if (br__ops[n->op].shape(g, n, &g->err))
        return 0;
    n->ragged = ragged_of(g, n);
    g->nodes[g->n] = *n;
    return (br_val)g->n++;
}

/* ---- ops that a device has in float32 only --------------------------------------------------- */

/* The float32 value of a bfloat16 one, which a backward pass widens again in place of keeping it.
 */
static br_val graph_widened(struct br_graph *g, br_val x)
{
    while (g->n_wide <= x) {
        if (br__grow(&g->wide, &g->cap_wide, g->n_wide, sizeof *g->wide))
            return br__graph_fail(g, BR_E_NOMEM, "out of memory for a graph");
        g->wide[g->n_wide++] = 0;
    }
    if (!g->wide[x]) {
        br_val v = BR__OP(g, CAST, BR__I(BR_F32), x);
        br__recompute(g, v, v + 1, 1);
        g->wide[x] = v;
    }
    return g->wide[x];
}

static int lacks_kernel(const struct br_graph *g, const struct br__node *n)
{
    struct br__node shaped = *n;
    if (g->err.code || !g->device || !g->values || n->op == BR_OP_CAST ||
        br__op_kind(n->op) != BR__OP_COMPUTE || br__ops[n->op].shape(g, &shaped, NULL))
        return 0;
    uint32_t in[BR_MAX_IN];
    int mixed = 0;
    for (uint32_t i = 0; i < n->n_in; i++)
        in[i] = br__node(g, n->in[i])->dtype;
    const struct br__kernel_key key = br__kernel_key(n->op, in, n->n_in, shaped.dtype);
    for (uint32_t i = 1; i < n->n_in; i++)
        mixed |= in[i] == BR_BF16 && i != (uint32_t)br__ops[n->op].weight;
    return !br__device_kernel(g->device, key) ||
           (mixed && key.value == BR_F32 && n->op != BR_OP_ADD_TO);
}

static br_val in_float32(struct br_graph *g, struct br__node *n)
{
    struct br__node shaped = *n;
    if (br__ops[n->op].shape(g, &shaped, &g->err))
        return 0;
    for (uint32_t i = 0; i < n->n_in; i++) {
        const struct br__node *x = br__node(g, n->in[i]);
        if (x->dtype == BR_BF16 && br__node(g, x->base)->op != BR_OP_PARAM)
            n->in[i] = graph_widened(g, n->in[i]);
    }
    uint32_t values = g->values;
    g->values = 0;
    br_val v = graph_append(g, n);
    g->values = values;
    return shaped.dtype == BR_BF16 && v ? BR__OP(g, CAST, BR__I(BR_BF16), v) : v;
}

/* ---- adding nodes ---------------------------------------------------------------------------- */

br_val br__op(struct br_graph *g, uint32_t op, const br_val *in, uint32_t n_in,
              const struct br_attr *attr)
{
    struct br__node n = {.op = op, .n_in = n_in};
    if (n_in < br__ops[op].min_in || n_in > br__ops[op].max_in)
        BR_BUG("op %s with %u inputs", br__ops[op].name, n_in);
    for (uint32_t i = 0; i < n_in; i++) {
        if (in[i] == 0 || in[i] >= g->n)
            return br__graph_fail(g, BR_E_CONFIG, "op %s lacks input %u", br__ops[op].name, i);
        n.in[i] = in[i];
    }
    if (attr)
        n.attr = *attr;
    return lacks_kernel(g, &n) ? in_float32(g, &n) : graph_append(g, &n);
}

br_val br__clone(struct br_graph *g, br_val v, const br_val *in)
{
    struct br__node n = *br__node(g, v);
    memcpy(n.in, in, n.n_in * sizeof *in);
    n.offset = 0;
    return graph_append(g, &n);
}

void br__recompute(struct br_graph *g, br_val from, br_val to, int all)
{
    if (g->err.code || from >= to)
        return;
    while (g->n_segments && g->segments[g->n_segments - 1].from >= from)
        g->n_segments--;
    if (g->n_segments && g->segments[g->n_segments - 1].to > from)
        BR_BUG("segments of nodes meet at %u", from);
    if (br__grow(&g->segments, &g->cap_segments, g->n_segments, sizeof *g->segments)) {
        br__graph_fail(g, BR_E_NOMEM, "out of memory for a graph");
        return;
    }
    g->segments[g->n_segments++] = (struct br__segment){from, to, all};
    if (to - from > 1)
        g->n_wide = 0; /* nodes behind it shall not read what is widened inside */
}

br_val br__leaf(struct br_graph *g, uint32_t op, uint32_t dtype, const char *name, uint32_t n_dim,
                const int64_t *shape)
{
    struct br__node n = {.op = op, .dtype = dtype, .name = name, .n_dim = n_dim};
    memcpy(n.shape, shape, n_dim * sizeof shape[0]);
    return graph_append(g, &n);
}

br_val br__param_leaf(struct br_graph *g, const struct br__stored *p)
{
    struct br__node n = {.op = BR_OP_PARAM, .dtype = p->dtype, .n_dim = p->n_dim, .stored = p};
    memcpy(n.shape, p->shape, sizeof n.shape);
    return graph_append(g, &n);
}

br_val br__const(struct br_graph *g, const float *v, int64_t len)
{
    float *copy = br__arena_alloc(&g->arena, (size_t)len * sizeof *v);
    if (!copy)
        return br__graph_fail(g, BR_E_NOMEM, "out of memory for a constant");
    memcpy(copy, v, (size_t)len * sizeof *v);
    struct br__node n = {.op = BR_OP_CONST, .dtype = BR_F32, .n_dim = 1, .shape = {len}};
    n.data = copy;
    return graph_append(g, &n);
}

br_val br__slice(struct br_graph *g, br_val x, int axis, int64_t from, int64_t len)
{
    return BR__OP(g, SLICE, BR__I(axis, from, len), x);
}

br_val br__reshape(struct br_graph *g, br_val x, uint32_t n_dim, const int64_t *shape)
{
    if (x == 0 || x >= g->n)
        return br__graph_fail(g, BR_E_CONFIG, "op RESHAPE lacks its input");
    struct br__node n = {.op = BR_OP_RESHAPE, .n_in = 1, .n_dim = n_dim, .in = {x}};
    memcpy(n.shape, shape, n_dim * sizeof shape[0]);
    return graph_append(g, &n);
}
