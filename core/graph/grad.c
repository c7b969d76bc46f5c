/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* grad.c - reverse-mode gradients: each op's rule appends the nodes that carry the gradient of its
 * result to its inputs, so that a gradient is made of the same ops as a forward pass.
 *
 * Every rule was checked by finite differences (tests/unit/test_grad.c goes through ops.def). */
#include "graph_internal.h"
#include <string.h>

struct grads {
    struct br_graph *g;
    br_val *of;     /* [n] gradient of each value so far, 0 = none */
    uint8_t *wants; /* [n] some wanted value is below it */
    size_t n;       /* values of the forward graph */
};

static const struct br__node *node(const struct grads *gs, br_val v)
{
    return br__node(gs->g, v);
}
static br_val in(const struct grads *gs, br_val v, uint32_t i)
{
    return node(gs, v)->in[i];
}
static int wants(const struct grads *gs, br_val v, uint32_t i)
{
    return gs->wants[in(gs, v, i)];
}
/* d is one more part of the gradient of x. */
static void add(struct grads *gs, br_val x, br_val d)
{
    if (!gs->wants[x])
        return;
    /* A leaf may be stored in any dtype; its gradient is a sum, as it comes. */
    int leaf = br__op_kind(node(gs, node(gs, x)->base)->op) == BR__OP_LEAF;
    if (!leaf && node(gs, d)->dtype != node(gs, x)->dtype)
        d = BR__OP(gs->g, CAST, BR__I(node(gs, x)->dtype), d);
    gs->of[x] = gs->of[x] ? BR__OP(gs->g, ADD, NULL, gs->of[x], d) : d;
}
static br_val matrix(struct grads *gs, br_val x)
{
    const struct br__node *n = node(gs, x);
    if (n->n_dim == 2)
        return x;
    int64_t cols = n->shape[n->n_dim - 1];
    return BR__RESHAPE(gs->g, x, n->n_dim ? br__node_elems(n) / cols : 1, cols);
}
static br_val like(struct grads *gs, br_val d, br_val x)
{
    return br__reshape(gs->g, d, node(gs, x)->n_dim, node(gs, x)->shape);
}

/* Hand out consecutive columns of `all` to the first n_in inputs of v. */
static void add_columns(struct grads *gs, br_val v, br_val all, uint32_t n_in)
{
    int64_t from = 0;
    for (uint32_t i = 0; i < n_in; i++) {
        br_val x = in(gs, v, i);
        int64_t cols = br__node_elems(node(gs, x)) / node(gs, x)->shape[0];
        if (gs->wants[x])
            add(gs, x, like(gs, br__slice(gs->g, all, 1, from, cols), x));
        from += cols;
    }
}

/* The rules are named after ops.def's last column and declared here, so that a missing one does not
 * compile and an unused one does not pass. */
typedef void rule(struct grads *gs, br_val v, br_val dy);

/* ---- views ----------------------------------------------------------------------------------- */

static void grad_slice(struct grads *gs, br_val v, br_val dy)
{
    const struct br__node *n = node(gs, v), *x = node(gs, n->in[0]);
    int64_t axis = n->attr.i[0], from = n->attr.i[1], total = x->shape[axis];
    if (axis != 0 && axis != x->n_dim - 1) {
        br__graph_fail(gs->g, BR_E_UNSUPPORTED, "no gradient for a slice of a middle axis");
        return;
    }
    add(gs, in(gs, v, 0), BR__OP(gs->g, PAD, BR__I(from, total, axis == 0 && x->n_dim > 1), dy));
}

static void grad_reshape(struct grads *gs, br_val v, br_val dy)
{
    add(gs, in(gs, v, 0), like(gs, dy, in(gs, v, 0)));
}

static void grad_branch(struct grads *gs, br_val v, br_val dy)
{
    add(gs, in(gs, v, 0), BR__OP(gs->g, ALL_REDUCE, BR__I(node(gs, v)->attr.i[0], 1), dy));
}

/* ---- matrix products ------------------------------------------------------------------------- */

static void grad_matmul(struct grads *gs, br_val v, br_val dy)
{
    br_val x = in(gs, v, 0), w = in(gs, v, 1);
    const struct br_attr attr = node(gs, v)->attr;
    if (gs->wants[x])
        add(gs, x, BR__OP(gs->g, MATMUL_NN, &attr, dy, w));
    if (gs->wants[w])
        add(gs, w, BR__OP(gs->g, MATMUL_TN, &attr, dy, x));
}

static void grad_grouped(struct grads *gs, br_val v, br_val dy)
{
    br_val x = in(gs, v, 0), w = in(gs, v, 1), offsets = in(gs, v, 2);
    const struct br_attr attr = node(gs, v)->attr;
    if (gs->wants[x])
        add(gs, x, BR__OP(gs->g, GROUPED_MATMUL_NN, &attr, dy, w, offsets));
    if (gs->wants[w])
        add(gs, w, BR__OP(gs->g, GROUPED_MATMUL_TN, &attr, dy, x, offsets));
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void grad_embed(struct grads *gs, br_val v, br_val dy)
{
    br_val table = in(gs, v, 0);
    add(gs, table,
        BR__OP(gs->g, EMBED_GRAD, BR__I(node(gs, v)->attr.i[0], node(gs, table)->shape[0]), dy,
               in(gs, v, 1)));
}

static void grad_gather_rows(struct grads *gs, br_val v, br_val dy)
{
    br_val x = in(gs, v, 0);
    add(gs, x, BR__OP(gs->g, SCATTER_ROWS, BR__I(node(gs, x)->shape[0]), dy, in(gs, v, 1)));
}

static void grad_concat(struct grads *gs, br_val v, br_val dy)
{
    add_columns(gs, v, dy, node(gs, v)->n_in);
}

static void grad_interleave(struct grads *gs, br_val v, br_val dy)
{
    add(gs, in(gs, v, 0), BR__OP(gs->g, DEINTERLEAVE, BR__I(node(gs, v)->attr.i[0]), dy));
}
static void grad_deinterleave(struct grads *gs, br_val v, br_val dy)
{
    add(gs, in(gs, v, 0), BR__OP(gs->g, INTERLEAVE, BR__I(node(gs, v)->attr.i[0]), dy));
}

/* ---- elementwise and broadcast --------------------------------------------------------------- */

static void grad_add(struct grads *gs, br_val v, br_val dy)
{
    add(gs, in(gs, v, 0), dy);
    add(gs, in(gs, v, 1), dy);
}

static void grad_mul(struct grads *gs, br_val v, br_val dy)
{
    br_val a = in(gs, v, 0), b = in(gs, v, 1);
    if (gs->wants[a])
        add(gs, a, BR__OP(gs->g, MUL, NULL, dy, b));
    if (gs->wants[b])
        add(gs, b, BR__OP(gs->g, MUL, NULL, dy, a));
}

static void grad_scale(struct grads *gs, br_val v, br_val dy)
{
    add(gs, in(gs, v, 0), BR__OP(gs->g, SCALE, BR__F(node(gs, v)->attr.f[0]), dy));
}

static void grad_add_row(struct grads *gs, br_val v, br_val dy)
{
    add(gs, in(gs, v, 0), dy);
    if (wants(gs, v, 1))
        add(gs, in(gs, v, 1), BR__OP(gs->g, SUM_ROWS, NULL, matrix(gs, dy)));
}

static void grad_mul_row(struct grads *gs, br_val v, br_val dy)
{
    br_val x = in(gs, v, 0), s = in(gs, v, 1);
    if (gs->wants[x])
        add(gs, x, BR__OP(gs->g, MUL_ROW, NULL, dy, s));
    if (gs->wants[s])
        add(gs, s, BR__OP(gs->g, SUM_ROWS, NULL, BR__OP(gs->g, MUL, NULL, dy, x)));
}

static void grad_sum_rows(struct grads *gs, br_val v, br_val dy)
{
    br_val x = in(gs, v, 0);
    add(gs, x, BR__OP(gs->g, FILL_ROWS, BR__I(node(gs, x)->shape[0]), dy));
}
static void grad_fill_rows(struct grads *gs, br_val v, br_val dy)
{
    add(gs, in(gs, v, 0), BR__OP(gs->g, SUM_ROWS, NULL, dy));
}

static void grad_mul_col(struct grads *gs, br_val v, br_val dy)
{
    br_val x = in(gs, v, 0), s = in(gs, v, 1);
    if (gs->wants[x])
        add(gs, x, BR__OP(gs->g, MUL_COL, NULL, dy, s));
    if (gs->wants[s])
        add(gs, s, BR__OP(gs->g, DOT_ROWS, NULL, dy, x));
}

static void grad_dot_rows(struct grads *gs, br_val v, br_val dy)
{
    br_val a = in(gs, v, 0), b = in(gs, v, 1);
    if (gs->wants[a])
        add(gs, a, BR__OP(gs->g, MUL_COL, NULL, b, dy));
    if (gs->wants[b])
        add(gs, b, BR__OP(gs->g, MUL_COL, NULL, a, dy));
}

/* silu(gate) * up is linear in up with the factor silu(gate), which is SWIGLU(gate, dy) again. */
static void grad_swiglu(struct grads *gs, br_val v, br_val dy)
{
    br_val gate = in(gs, v, 0), up = in(gs, v, 1);
    if (gs->wants[gate])
        add(gs, gate, BR__OP(gs->g, SWIGLU_DGATE, NULL, gate, up, dy));
    if (gs->wants[up])
        add(gs, up, BR__OP(gs->g, SWIGLU, NULL, gate, dy));
}

static void grad_cast(struct grads *gs, br_val v, br_val dy)
{
    add(gs, in(gs, v, 0), dy);
}

static void grad_log_sum_exp(struct grads *gs, br_val v, br_val dy)
{
    br_val x = in(gs, v, 0);
    add(gs, x, BR__OP(gs->g, MUL_COL, NULL, BR__OP(gs->g, SOFTMAX, NULL, x), dy));
}

static void grad_sigmoid(struct grads *gs, br_val v, br_val dy)
{
    add(gs, in(gs, v, 0), BR__OP(gs->g, SIGMOID_GRAD, NULL, v, dy));
}
static void grad_softmax(struct grads *gs, br_val v, br_val dy)
{
    add(gs, in(gs, v, 0), BR__OP(gs->g, SOFTMAX_GRAD, NULL, v, dy));
}

/* ---- norms, attention ------------------------------------------------------------------------ */

static void grad_rmsnorm(struct grads *gs, br_val v, br_val dy)
{
    br_val x = in(gs, v, 0), w = in(gs, v, 1);
    const struct br_attr attr = node(gs, v)->attr;
    if (gs->wants[x])
        add(gs, x, BR__OP(gs->g, RMSNORM_DX, &attr, x, w, dy));
    if (gs->wants[w])
        add(gs, w, BR__OP(gs->g, RMSNORM_DW, &attr, x, dy));
}

static void grad_l2norm(struct grads *gs, br_val v, br_val dy)
{
    br_val x = in(gs, v, 0);
    add(gs, x, BR__OP(gs->g, L2NORM_GRAD, BR__F(node(gs, v)->attr.f[0]), x, dy));
}

static void grad_rope(struct grads *gs, br_val v, br_val dy)
{
    struct br_attr attr = node(gs, v)->attr;
    attr.i[0] = !attr.i[0];
    add(gs, in(gs, v, 0), BR__OP(gs->g, ROPE, &attr, dy, in(gs, v, 1), in(gs, v, 2)));
}

static void grad_attention(struct grads *gs, br_val v, br_val dy)
{
    const struct br_attr attr = node(gs, v)->attr;
    int kept = node(gs, v)->n_in > 4; /* log sums: what the forward pass leaves behind */
    const br_val x[] = {in(gs, v, 0),           in(gs, v, 1), in(gs, v, 2), in(gs, v, 3), dy, v,
                        kept ? in(gs, v, 4) : 0};
    add_columns(gs, v, br__op(gs->g, BR_OP_ATTENTION_GRAD, x, kept ? 7 : 5, &attr), 3);
}

/* ---- routing --------------------------------------------------------------------------------- */

static void grad_gather_cols(struct grads *gs, br_val v, br_val dy)
{
    br_val x = in(gs, v, 0);
    add(gs, x, BR__OP(gs->g, SCATTER_COLS, BR__I(node(gs, x)->shape[1]), dy, in(gs, v, 1)));
}

static void grad_moe_gather(struct grads *gs, br_val v, br_val dy)
{
    br_val x = in(gs, v, 0);
    add(gs, x,
        BR__OP(gs->g, MOE_GATHER_GRAD, BR__I(node(gs, v)->attr.i[0], node(gs, x)->shape[0]), dy,
               in(gs, v, 1)));
}

static void grad_moe_combine(struct grads *gs, br_val v, br_val dy)
{
    br_val y = in(gs, v, 0), p = in(gs, v, 1), order = in(gs, v, 2);
    if (gs->wants[y])
        add(gs, y, BR__OP(gs->g, MOE_COMBINE_DY, NULL, dy, p, order));
    if (gs->wants[p])
        add(gs, p, BR__OP(gs->g, MOE_COMBINE_DP, BR__I(node(gs, p)->shape[1]), dy, y, order));
}

/* ---- gated delta net ------------------------------------------------------------------------- */

static void grad_conv1d(struct grads *gs, br_val v, br_val dy)
{
    br_val x = in(gs, v, 0), w = in(gs, v, 1), seqs = in(gs, v, 2);
    if (gs->wants[x])
        add(gs, x, BR__OP(gs->g, CONV1D_SILU_DX, NULL, x, w, seqs, dy));
    if (gs->wants[w])
        add(gs, w, BR__OP(gs->g, CONV1D_SILU_DW, NULL, x, w, seqs, dy));
}

/* The decay is linear in exp(A_log), so its derivative by A_log is the decay itself; a and dt_bias
 * enter as a sum. */
static void grad_gdn_decay(struct grads *gs, br_val v, br_val dy)
{
    br_val a = in(gs, v, 0), a_log = in(gs, v, 1), bias = in(gs, v, 2);
    if (gs->wants[a] || gs->wants[bias]) {
        br_val da = BR__OP(gs->g, GDN_DECAY_DA, NULL, a, a_log, bias, dy);
        add(gs, a, da);
        if (gs->wants[bias])
            add(gs, bias, BR__OP(gs->g, SUM_ROWS, NULL, da));
    }
    if (gs->wants[a_log])
        add(gs, a_log, BR__OP(gs->g, SUM_ROWS, NULL, BR__OP(gs->g, MUL, NULL, dy, v)));
}

static void grad_delta_rule(struct grads *gs, br_val v, br_val dy)
{
    const struct br_attr attr = node(gs, v)->attr;
    add_columns(gs, v,
                BR__OP(gs->g, DELTA_RULE_GRAD, &attr, in(gs, v, 0), in(gs, v, 1), in(gs, v, 2),
                       in(gs, v, 3), in(gs, v, 4), in(gs, v, 5), dy),
                5);
}

/* ---- losses and collectives ------------------------------------------------------------------ */

static void grad_cross_entropy(struct grads *gs, br_val v, br_val dy)
{
    br_val logits = in(gs, v, 0);
    add(gs, logits, BR__OP(gs->g, CROSS_ENTROPY_GRAD, NULL, logits, in(gs, v, 1), dy));
}

/* Both at once, for both need the logits again. */
static void grad_head_loss(struct grads *gs, br_val v, br_val dy)
{
    br_val x = in(gs, v, 0), w = in(gs, v, 1), labels = in(gs, v, 2), stats = in(gs, v, 3);
    const struct br_attr attr = node(gs, v)->attr;
    br_val sum = 0, dx;
    if (gs->wants[w])
        sum = br__leaf(gs->g, BR_OP_ZEROS, BR_F32, NULL, 2, node(gs, w)->shape);
    if (sum)
        dx = BR__OP(gs->g, LM_HEAD_GRAD, &attr, x, w, labels, stats, dy, sum);
    else
        dx = BR__OP(gs->g, LM_HEAD_GRAD, &attr, x, w, labels, stats, dy);
    add(gs, x, dx);
    if (sum)
        add(gs, w, BR__OP(gs->g, AFTER, NULL, sum, dx));
}

static void grad_all_reduce(struct grads *gs, br_val v, br_val dy)
{
    const struct br_attr attr = node(gs, v)->attr;
    add(gs, in(gs, v, 0), attr.i[1] ? dy : BR__OP(gs->g, ALL_REDUCE, &attr, dy));
}

static void grad_all_gather(struct grads *gs, br_val v, br_val dy)
{
    const struct br_attr attr = node(gs, v)->attr;
    br_val x = in(gs, v, 0);
    int64_t rows = node(gs, x)->shape[0];
    add(gs, x,
        attr.i[1] ? br__slice(gs->g, dy, 0, rows * attr.i[3], rows)
                  : BR__OP(gs->g, REDUCE_SCATTER, &attr, dy));
}

static void grad_reduce_scatter(struct grads *gs, br_val v, br_val dy)
{
    const struct br_attr attr = node(gs, v)->attr;
    add(gs, in(gs, v, 0), BR__OP(gs->g, ALL_GATHER, &attr, dy));
}

/* What was sent comes back as a gradient; dy is only the reason to ask for it. */
static void grad_send(struct grads *gs, br_val v, br_val dy)
{
    const struct br_attr attr = node(gs, v)->attr;
    (void)dy;
    add(gs, in(gs, v, 0), BR__OP(gs->g, RECV, &attr, in(gs, v, 0)));
}

#define grad_leaf NULL
#define grad_none NULL
static rule *const rules[BR_N_OPS] = {
#define OP(name, min, max, shape, grad, weight, value) [BR_OP_##name] = grad_##grad,
#include <bridge/ops.def>
#undef OP
};

/* ---- the walk -------------------------------------------------------------------------------- */

int br__op_has_grad(uint32_t op)
{
    return rules[op] != NULL;
}

/* wants[v]: v is asked for, or made of something that is. */
static void mark(struct grads *gs, const br_val *wrt, size_t n)
{
    for (size_t i = 0; i < n; i++)
        gs->wants[wrt[i]] = 1;
    for (br_val v = 1; v < gs->n; v++) {
        const struct br__node *x = br__node(gs->g, v);
        for (uint32_t i = 0; i < x->n_in && rules[x->op]; i++)
            gs->wants[v] |= gs->wants[x->in[i]];
    }
}

static br_val seed(struct br_graph *g, br_val root)
{
    static const float one = 1;
    return br__node(g, root)->op == BR_OP_SEND ? root : br__const(g, &one, 1);
}

int br__grad(struct br_graph *g, const br_val *roots, size_t n_roots, const br_val *wrt, size_t n,
             br_val *out, struct br_err *err)
{
    if (br__graph_status(g, err))
        return g->err.code;
    struct grads gs = {.g = g, .n = g->n};
    gs.of = br__calloc(gs.n, sizeof *gs.of);
    gs.wants = br__calloc(gs.n, 1);
    if (!gs.of || !gs.wants) {
        br__graph_fail(g, BR_E_NOMEM, "out of memory for gradients");
        goto out;
    }
    mark(&gs, wrt, n);
    for (size_t i = 0; i < n_roots; i++)
        gs.of[roots[i]] = seed(g, roots[i]);
    for (br_val v = (br_val)gs.n; v-- > 1;)
        if (gs.of[v] && gs.wants[v] && rules[br__node(g, v)->op])
            rules[br__node(g, v)->op](&gs, v, gs.of[v]);
    for (size_t i = 0; i < n; i++)
        out[i] = gs.of[wrt[i]];
out:
    br__free(gs.of);
    br__free(gs.wants);
    return br__graph_status(g, err);
}
