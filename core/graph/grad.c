/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* grad.c - reverse-mode gradients: each op's rule appends the nodes that carry the gradient of its
 * result to its inputs, so that a gradient is made of the same ops as a forward pass.
 *
 * Every rule was checked by finite differences (tests/unit/test_grad.c goes through ops.def). */
#include "graph_internal.h"
#include <string.h>

/* The gradient of columns [from, from + n) of value x. */
struct columns {
    br_val x, d;
    int64_t from, n;
};

struct grads {
    struct br_graph *g;
    br_val *of;     /* [n] gradient of each value so far, 0 = none */
    br_val *into;   /* [n] the sum that its gradient is added to; 0 = none */
    uint8_t *wants; /* [n] some wanted value is below it */
    size_t n;       /* values of the forward graph */
    br_val *now;    /* [n] what a rule reads in its place: itself, or its clone; 0: not made yet */
    br_val *home;   /* [n_home] the value that node n + i is a clone of; 0: none */
    size_t n_home, cap_home;
    struct columns *cut; /* [n_cut] that are not yet part of x's gradient */
    size_t n_cut, cap_cut;
};

static const struct br__node *back_node(const struct grads *gs, br_val v)
{
    return br__node(gs->g, v);
}
/* The value of the forward graph that x is or is a clone of. */
static br_val back_home(const struct grads *gs, br_val x)
{
    return x < gs->n ? x : x - gs->n < gs->n_home ? gs->home[x - gs->n] : 0;
}
/* ---- values that are made again -------------------------------------------------------------- */

static br_val read_as(struct grads *gs, br_val v, br_val x);

static int is_leaf(const struct grads *gs, br_val v)
{
    return br__op_kind(back_node(gs, v)->op) == BR__OP_LEAF;
}

/* Node `clone` is a clone of v. */
static void note_clone(struct grads *gs, br_val clone, br_val v)
{
    while (gs->n_home <= clone - gs->n) {
        if (br__grow(&gs->home, &gs->cap_home, gs->n_home, sizeof *gs->home)) {
            br__graph_fail(gs->g, BR_E_NOMEM, "out of memory for gradients");
            return;
        }
        gs->home[gs->n_home++] = 0;
    }
    gs->home[clone - gs->n] = v;
}

/* Clones of a whole segment.  Those that no rule reads are dropped when the graph is planned. */
static void make_again(struct grads *gs, const struct br__segment *s)
{
    for (br_val v = s->from; v < s->to && !gs->g->err.code; v++) {
        br_val from[BR_MAX_IN];
        uint32_t n_in = back_node(gs, v)->n_in;
        for (uint32_t i = 0; i < n_in; i++)
            from[i] = read_as(gs, v, back_node(gs, v)->in[i]);
        gs->now[v] = is_leaf(gs, v) ? v : br__clone(gs->g, v, from);
        if (gs->now[v] != v)
            note_clone(gs, gs->now[v], v);
    }
}

static const struct br__segment *segment_of(const struct grads *gs, br_val v)
{
    size_t from = 0, to = gs->g->n_segments;
    while (from < to) {
        size_t mid = (from + to) / 2;
        const struct br__segment *s = &gs->g->segments[mid];
        if (v >= s->from && v < s->to)
            return s;
        if (v < s->from)
            to = mid;
        else
            from = mid + 1;
    }
    return NULL;
}

/* What the rule of v works on: v, or its clone. */
static br_val back_now(struct grads *gs, br_val v)
{
    const struct br__segment *s = gs->now[v] ? NULL : segment_of(gs, v);
    if (s)
        make_again(gs, s);
    return gs->now[v] ? gs->now[v] : v;
}

/* Input x of v as a clone of v or its rule reads it. */
static br_val read_as(struct grads *gs, br_val v, br_val x)
{
    const struct br__segment *s = segment_of(gs, x);
    return s && (s->all || s == segment_of(gs, v)) ? back_now(gs, x) : x;
}

/* Input i of v, which may be a clone, as the rule of v reads it. */
static br_val back_in(struct grads *gs, br_val v, uint32_t i)
{
    br_val x = back_node(gs, v)->in[i];
    return x < gs->n ? read_as(gs, back_home(gs, v), x) : x;
}
static int back_wanted(const struct grads *gs, br_val x)
{
    return gs->wants[back_home(gs, x)];
}
static int back_wants(struct grads *gs, br_val v, uint32_t i)
{
    return back_wanted(gs, back_in(gs, v, i));
}
/* d is one more part of the gradient of x. */
static void back_add(struct grads *gs, br_val x, br_val d)
{
    x = back_home(gs, x);
    if (!gs->wants[x])
        return;
    if (gs->into[x]) {
        gs->of[x] = gs->into[x] = BR__OP(gs->g, ADD_TO, NULL, gs->into[x], d);
        return;
    }
    /* A leaf may be stored in any dtype; its gradient is a sum, as it comes. */
    int leaf = br__op_kind(back_node(gs, back_node(gs, x)->base)->op) == BR__OP_LEAF;
    if (!leaf && back_node(gs, d)->dtype != back_node(gs, x)->dtype)
        d = BR__OP(gs->g, CAST, BR__I(back_node(gs, x)->dtype), d);
    gs->of[x] = gs->of[x] ? BR__OP(gs->g, ADD, NULL, gs->of[x], d) : d;
}
/* The sum that the gradient of x is added to, or 0; and that it was. */
static br_val sum_of(const struct grads *gs, br_val x)
{
    return gs->into[back_home(gs, x)];
}
static void back_added(struct grads *gs, br_val x, br_val sum)
{
    x = back_home(gs, x);
    gs->of[x] = gs->into[x] = sum;
}
static br_val back_matrix(struct grads *gs, br_val x)
{
    const struct br__node *n = back_node(gs, x);
    if (n->n_dim == 2)
        return x;
    int64_t cols = n->shape[n->n_dim - 1];
    return BR__RESHAPE(gs->g, x, n->n_dim ? br__node_elems(n) / cols : 1, cols);
}
static br_val back_like(struct grads *gs, br_val d, br_val x)
{
    return br__reshape(gs->g, d, back_node(gs, x)->n_dim, back_node(gs, x)->shape);
}

/* Hand out consecutive columns of `all`, the first rows of them, to the first n_in inputs of v. */
static void add_columns(struct grads *gs, br_val v, br_val all, uint32_t n_in)
{
    int64_t from = 0;
    for (uint32_t i = 0; i < n_in; i++) {
        br_val x = back_in(gs, v, i);
        int64_t rows = back_node(gs, x)->shape[0];
        int64_t cols = br__node_elems(back_node(gs, x)) / rows;
        br_val d = br__slice(gs->g, all, 1, from, cols);
        if (rows < back_node(gs, all)->shape[0])
            d = br__slice(gs->g, d, 0, 0, rows);
        if (back_wanted(gs, x))
            back_add(gs, x, back_like(gs, d, x));
        from += cols;
    }
}

/* The rules are named after ops.def's last column and declared here, so that a missing one does not
 * compile and an unused one does not pass. */
typedef void rule(struct grads *gs, br_val v, br_val dy);

/* ---- views ----------------------------------------------------------------------------------- */

/* Where products are merged, their results are cut into slices that are all of a value: the
 * gradients of these become one, side by side. */
static int joins_slices(const struct br_graph *g)
{
    return g->device && g->device->backend.flags & BR_BACKEND_MERGES;
}

static void pad_columns(struct grads *gs, const struct columns *c)
{
    int64_t total = back_node(gs, c->x)->shape[1];
    back_add(gs, c->x, BR__OP(gs->g, PAD, BR__I(c->from, total), c->d));
}

/* Columns of v whose gradients are known, in order, out of the list. */
static size_t take_columns(struct grads *gs, br_val v, struct columns *out)
{
    size_t n = 0, left = 0;
    for (size_t i = 0; i < gs->n_cut; i++) {
        struct columns c = gs->cut[i];
        if (c.x != v) {
            gs->cut[left++] = c;
            continue;
        }
        size_t at = n++;
        for (; at > 0 && out[at - 1].from > c.from; at--)
            out[at] = out[at - 1];
        out[at] = c;
    }
    gs->n_cut = left;
    return n;
}

/* All slices of v have been walked. */
static void join_columns(struct grads *gs, br_val v)
{
    struct columns c[BR_MAX_IN];
    br_val d[BR_MAX_IN];
    int64_t end = 0;
    int fit = 1;
    size_t n = gs->n_cut ? take_columns(gs, v, c) : 0;
    for (size_t i = 0; i < n; end += c[i++].n) {
        int differs = back_node(gs, c[i].d)->dtype != back_node(gs, c[i].x)->dtype;
        fit &= c[i].from == end;
        d[i] = c[i].d;
        if (differs)
            d[i] = BR__OP(gs->g, CAST, BR__I(back_node(gs, c[i].x)->dtype), d[i]);
    }
    if (n > 1 && fit && end == back_node(gs, v)->shape[1])
        back_add(gs, v, br__op(gs->g, BR_OP_CONCAT, d, (uint32_t)n, NULL));
    else
        for (size_t i = 0; i < n; i++)
            pad_columns(gs, &c[i]);
}

/* False: there is no room for one more slice of x. */
static int keep_columns(struct grads *gs, const struct columns *c)
{
    size_t n = 0;
    for (size_t i = 0; i < gs->n_cut; i++)
        n += gs->cut[i].x == c->x;
    if (n == BR_MAX_IN || br__grow(&gs->cut, &gs->cap_cut, gs->n_cut, sizeof *gs->cut))
        return 0;
    gs->cut[gs->n_cut++] = *c;
    return 1;
}

static void grad_slice(struct grads *gs, br_val v, br_val dy)
{
    const struct br__node *n = back_node(gs, v), *x = back_node(gs, n->in[0]);
    int64_t axis = n->attr.i[0], from = n->attr.i[1], total = x->shape[axis];
    if (axis != 0 && axis != x->n_dim - 1) {
        br__graph_fail(gs->g, BR_E_UNSUPPORTED, "no gradient for a slice of a middle axis");
        return;
    }
    if (axis == 1 && x->n_dim == 2 && joins_slices(gs->g) &&
        keep_columns(gs,
                     &(struct columns){back_home(gs, back_in(gs, v, 0)), dy, from, n->attr.i[2]}))
        return;
    back_add(gs, back_in(gs, v, 0),
             BR__OP(gs->g, PAD, BR__I(from, total, axis == 0 && x->n_dim > 1), dy));
}

static void grad_reshape(struct grads *gs, br_val v, br_val dy)
{
    back_add(gs, back_in(gs, v, 0), back_like(gs, dy, back_in(gs, v, 0)));
}

static void grad_branch(struct grads *gs, br_val v, br_val dy)
{
    back_add(gs, back_in(gs, v, 0),
             BR__OP(gs->g, ALL_REDUCE, BR__I(back_node(gs, v)->attr.i[0], 1), dy));
}

/* ---- matrix products ------------------------------------------------------------------------- */

static void grad_matmul(struct grads *gs, br_val v, br_val dy)
{
    br_val x = back_in(gs, v, 0), w = back_in(gs, v, 1);
    const struct br_attr attr = back_node(gs, v)->attr;
    if (back_wanted(gs, x))
        back_add(gs, x, BR__OP(gs->g, MATMUL_NN, &attr, dy, w));
    if (back_wanted(gs, w) && sum_of(gs, w))
        back_added(gs, w, BR__OP(gs->g, MATMUL_TN_ADD, &attr, dy, x, sum_of(gs, w)));
    else if (back_wanted(gs, w))
        back_add(gs, w, BR__OP(gs->g, MATMUL_TN, &attr, dy, x));
}

static void grad_grouped(struct grads *gs, br_val v, br_val dy)
{
    br_val x = back_in(gs, v, 0), w = back_in(gs, v, 1), offsets = back_in(gs, v, 2);
    const struct br_attr attr = back_node(gs, v)->attr;
    if (back_wanted(gs, x))
        back_add(gs, x, BR__OP(gs->g, GROUPED_MATMUL_NN, &attr, dy, w, offsets));
    if (back_wanted(gs, w) && sum_of(gs, w))
        back_added(gs, w,
                   BR__OP(gs->g, GROUPED_MATMUL_TN_ADD, &attr, dy, x, offsets, sum_of(gs, w)));
    else if (back_wanted(gs, w))
        back_add(gs, w, BR__OP(gs->g, GROUPED_MATMUL_TN, &attr, dy, x, offsets));
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void grad_embed(struct grads *gs, br_val v, br_val dy)
{
    br_val table = back_in(gs, v, 0), ids = back_in(gs, v, 1);
    const struct br_attr attr = {
        .i = {back_node(gs, v)->attr.i[0], back_node(gs, table)->shape[0]}};
    if (sum_of(gs, table))
        back_added(gs, table, BR__OP(gs->g, EMBED_GRAD_ADD, &attr, dy, ids, sum_of(gs, table)));
    else
        back_add(gs, table, BR__OP(gs->g, EMBED_GRAD, &attr, dy, ids));
}

static void grad_gather_rows(struct grads *gs, br_val v, br_val dy)
{
    br_val x = back_in(gs, v, 0);
    back_add(gs, x,
             BR__OP(gs->g, SCATTER_ROWS, BR__I(back_node(gs, x)->shape[0]), dy, back_in(gs, v, 1)));
}

static void grad_concat(struct grads *gs, br_val v, br_val dy)
{
    add_columns(gs, v, dy, back_node(gs, v)->n_in);
}

static void grad_interleave(struct grads *gs, br_val v, br_val dy)
{
    back_add(gs, back_in(gs, v, 0),
             BR__OP(gs->g, DEINTERLEAVE, BR__I(back_node(gs, v)->attr.i[0]), dy));
}
static void grad_deinterleave(struct grads *gs, br_val v, br_val dy)
{
    back_add(gs, back_in(gs, v, 0),
             BR__OP(gs->g, INTERLEAVE, BR__I(back_node(gs, v)->attr.i[0]), dy));
}

/* ---- elementwise and broadcast --------------------------------------------------------------- */

static void grad_add(struct grads *gs, br_val v, br_val dy)
{
    back_add(gs, back_in(gs, v, 0), dy);
    back_add(gs, back_in(gs, v, 1), dy);
}

static void grad_mul(struct grads *gs, br_val v, br_val dy)
{
    br_val a = back_in(gs, v, 0), b = back_in(gs, v, 1);
    if (back_wanted(gs, a))
        back_add(gs, a, BR__OP(gs->g, MUL, NULL, dy, b));
    if (back_wanted(gs, b))
        back_add(gs, b, BR__OP(gs->g, MUL, NULL, dy, a));
}

static void grad_scale(struct grads *gs, br_val v, br_val dy)
{
    back_add(gs, back_in(gs, v, 0), BR__OP(gs->g, SCALE, BR__F(back_node(gs, v)->attr.f[0]), dy));
}

static void grad_add_row(struct grads *gs, br_val v, br_val dy)
{
    back_add(gs, back_in(gs, v, 0), dy);
    if (back_wants(gs, v, 1))
        back_add(gs, back_in(gs, v, 1), BR__OP(gs->g, SUM_ROWS, NULL, back_matrix(gs, dy)));
}

static void grad_mul_row(struct grads *gs, br_val v, br_val dy)
{
    br_val x = back_in(gs, v, 0), s = back_in(gs, v, 1);
    if (back_wanted(gs, x))
        back_add(gs, x, BR__OP(gs->g, MUL_ROW, NULL, dy, s));
    if (back_wanted(gs, s))
        back_add(gs, s, BR__OP(gs->g, SUM_ROWS, NULL, BR__OP(gs->g, MUL, NULL, dy, x)));
}

static void grad_sum_rows(struct grads *gs, br_val v, br_val dy)
{
    br_val x = back_in(gs, v, 0);
    back_add(gs, x, BR__OP(gs->g, FILL_ROWS, BR__I(back_node(gs, x)->shape[0]), dy));
}
static void grad_fill_rows(struct grads *gs, br_val v, br_val dy)
{
    back_add(gs, back_in(gs, v, 0), BR__OP(gs->g, SUM_ROWS, NULL, dy));
}

static void grad_mul_col(struct grads *gs, br_val v, br_val dy)
{
    br_val x = back_in(gs, v, 0), s = back_in(gs, v, 1);
    if (back_wanted(gs, x))
        back_add(gs, x, BR__OP(gs->g, MUL_COL, NULL, dy, s));
    if (back_wanted(gs, s))
        back_add(gs, s, BR__OP(gs->g, DOT_ROWS, NULL, dy, x));
}

static void grad_dot_rows(struct grads *gs, br_val v, br_val dy)
{
    br_val a = back_in(gs, v, 0), b = back_in(gs, v, 1);
    if (back_wanted(gs, a))
        back_add(gs, a, BR__OP(gs->g, MUL_COL, NULL, b, dy));
    if (back_wanted(gs, b))
        back_add(gs, b, BR__OP(gs->g, MUL_COL, NULL, a, dy));
}

/* silu(gate) * up is linear in up with the factor silu(gate), which is SWIGLU(gate, dy) again. */
static void grad_swiglu(struct grads *gs, br_val v, br_val dy)
{
    br_val gate = back_in(gs, v, 0), up = back_in(gs, v, 1);
    if (back_wanted(gs, gate))
        back_add(gs, gate, BR__OP(gs->g, SWIGLU_DGATE, NULL, gate, up, dy));
    if (back_wanted(gs, up))
        back_add(gs, up, BR__OP(gs->g, SWIGLU, NULL, gate, dy));
}

static void grad_cast(struct grads *gs, br_val v, br_val dy)
{
    back_add(gs, back_in(gs, v, 0), dy);
}

/* The same elements. */
static void grad_dropout(struct grads *gs, br_val v, br_val dy)
{
    const struct br__node n = *back_node(gs, v);
    const br_val in[] = {dy, back_in(gs, v, 1), n.n_in > 2 ? back_in(gs, v, 2) : 0};
    back_add(gs, back_in(gs, v, 0), br__op(gs->g, BR_OP_DROPOUT, in, n.n_in, &n.attr));
}

static void grad_log_sum_exp(struct grads *gs, br_val v, br_val dy)
{
    br_val x = back_in(gs, v, 0);
    back_add(gs, x, BR__OP(gs->g, MUL_COL, NULL, BR__OP(gs->g, SOFTMAX, NULL, x), dy));
}

static void grad_sigmoid(struct grads *gs, br_val v, br_val dy)
{
    back_add(gs, back_in(gs, v, 0), BR__OP(gs->g, SIGMOID_GRAD, NULL, v, dy));
}
static void grad_softmax(struct grads *gs, br_val v, br_val dy)
{
    back_add(gs, back_in(gs, v, 0), BR__OP(gs->g, SOFTMAX_GRAD, NULL, v, dy));
}

/* ---- norms, attention ------------------------------------------------------------------------ */

static void grad_rmsnorm(struct grads *gs, br_val v, br_val dy)
{
    br_val x = back_in(gs, v, 0), w = back_in(gs, v, 1);
    const struct br_attr attr = back_node(gs, v)->attr;
    if (back_wanted(gs, x))
        back_add(gs, x, BR__OP(gs->g, RMSNORM_DX, &attr, x, w, dy));
    if (back_wanted(gs, w))
        back_add(gs, w, BR__OP(gs->g, RMSNORM_DW, &attr, x, dy));
}

static void grad_l2norm(struct grads *gs, br_val v, br_val dy)
{
    br_val x = back_in(gs, v, 0);
    back_add(gs, x, BR__OP(gs->g, L2NORM_GRAD, BR__F(back_node(gs, v)->attr.f[0]), x, dy));
}

static void grad_rope(struct grads *gs, br_val v, br_val dy)
{
    struct br_attr attr = back_node(gs, v)->attr;
    attr.i[0] = !attr.i[0];
    back_add(gs, back_in(gs, v, 0),
             BR__OP(gs->g, ROPE, &attr, dy, back_in(gs, v, 1), back_in(gs, v, 2)));
}

static void grad_attention(struct grads *gs, br_val v, br_val dy)
{
    const struct br_attr attr = back_node(gs, v)->attr;
    int kept = back_node(gs, v)->n_in > 4; /* log sums: what the forward pass leaves behind */
    const br_val x[] = {
        back_in(gs, v, 0),           back_in(gs, v, 1), back_in(gs, v, 2), back_in(gs, v, 3), dy, v,
        kept ? back_in(gs, v, 4) : 0};
    add_columns(gs, v, br__op(gs->g, BR_OP_ATTENTION_GRAD, x, kept ? 7 : 5, &attr), 3);
}

/* ---- routing --------------------------------------------------------------------------------- */

static void grad_gather_cols(struct grads *gs, br_val v, br_val dy)
{
    br_val x = back_in(gs, v, 0);
    back_add(gs, x,
             BR__OP(gs->g, SCATTER_COLS, BR__I(back_node(gs, x)->shape[1]), dy, back_in(gs, v, 1)));
}

static void grad_moe_gather(struct grads *gs, br_val v, br_val dy)
{
    br_val x = back_in(gs, v, 0);
    back_add(gs, x,
             BR__OP(gs->g, MOE_GATHER_GRAD,
                    BR__I(back_node(gs, v)->attr.i[0], back_node(gs, x)->shape[0]), dy,
                    back_in(gs, v, 1)));
}

static void grad_moe_gather_grad(struct grads *gs, br_val v, br_val dy)
{
    back_add(gs, back_in(gs, v, 0),
             BR__OP(gs->g, MOE_GATHER, BR__I(back_node(gs, v)->attr.i[0]), dy, back_in(gs, v, 1)));
}

static void grad_moe_combine(struct grads *gs, br_val v, br_val dy)
{
    br_val y = back_in(gs, v, 0), p = back_in(gs, v, 1), order = back_in(gs, v, 2);
    if (back_wanted(gs, y))
        back_add(gs, y, BR__OP(gs->g, MOE_COMBINE_DY, NULL, dy, p, order));
    if (back_wanted(gs, p))
        back_add(gs, p,
                 BR__OP(gs->g, MOE_COMBINE_DP, BR__I(back_node(gs, p)->shape[1]), dy, y, order));
}

/* ---- gated delta net ------------------------------------------------------------------------- */

static void grad_conv1d(struct grads *gs, br_val v, br_val dy)
{
    br_val x = back_in(gs, v, 0), w = back_in(gs, v, 1), seqs = back_in(gs, v, 2);
    if (back_wanted(gs, x))
        back_add(gs, x, BR__OP(gs->g, CONV1D_SILU_DX, NULL, x, w, seqs, dy));
    if (back_wanted(gs, w))
        back_add(gs, w, BR__OP(gs->g, CONV1D_SILU_DW, NULL, x, w, seqs, dy));
}

/* The decay is linear in exp(A_log), so its derivative by A_log is the decay itself; a and dt_bias
 * enter as a sum. */
static void grad_gdn_decay(struct grads *gs, br_val v, br_val dy)
{
    br_val a = back_in(gs, v, 0), a_log = back_in(gs, v, 1), bias = back_in(gs, v, 2);
    if (back_wanted(gs, a) || back_wanted(gs, bias)) {
        br_val da = BR__OP(gs->g, GDN_DECAY_DA, NULL, a, a_log, bias, dy);
        back_add(gs, a, da);
        if (back_wanted(gs, bias))
            back_add(gs, bias, BR__OP(gs->g, SUM_ROWS, NULL, da));
    }
    if (back_wanted(gs, a_log))
        back_add(gs, a_log, BR__OP(gs->g, SUM_ROWS, NULL, BR__OP(gs->g, MUL, NULL, dy, v)));
}

static void grad_delta_rule(struct grads *gs, br_val v, br_val dy)
{
    const struct br_attr attr = back_node(gs, v)->attr;
    add_columns(gs, v,
                BR__OP(gs->g, DELTA_RULE_GRAD, &attr, back_in(gs, v, 0), back_in(gs, v, 1),
                       back_in(gs, v, 2), back_in(gs, v, 3), back_in(gs, v, 4), back_in(gs, v, 5),
                       dy),
                5);
}

/* ---- losses and collectives ------------------------------------------------------------------ */

static void grad_cross_entropy(struct grads *gs, br_val v, br_val dy)
{
    br_val logits = back_in(gs, v, 0);
    back_add(gs, logits, BR__OP(gs->g, CROSS_ENTROPY_GRAD, NULL, logits, back_in(gs, v, 1), dy));
}

/* Both at once, for both need the logits again. */
static void grad_head_loss(struct grads *gs, br_val v, br_val dy)
{
    br_val x = back_in(gs, v, 0), w = back_in(gs, v, 1), labels = back_in(gs, v, 2),
           stats = back_in(gs, v, 3);
    const struct br_attr attr = back_node(gs, v)->attr;
    br_val sum = sum_of(gs, w), dx;
    int own = back_wanted(gs, w) && !sum;
    if (own)
        sum = br__leaf(gs->g, BR_OP_ZEROS, BR_F32, NULL, 2, back_node(gs, w)->shape);
    if (sum)
        dx = BR__OP(gs->g, LM_HEAD_GRAD, &attr, x, w, labels, stats, dy, sum);
    else
        dx = BR__OP(gs->g, LM_HEAD_GRAD, &attr, x, w, labels, stats, dy);
    back_add(gs, x, dx);
    if (own)
        back_add(gs, w, BR__OP(gs->g, AFTER, NULL, sum, dx));
    else if (sum)
        back_added(gs, w, BR__OP(gs->g, AFTER, NULL, sum, dx));
}

static void grad_all_reduce(struct grads *gs, br_val v, br_val dy)
{
    const struct br_attr attr = back_node(gs, v)->attr;
    back_add(gs, back_in(gs, v, 0), attr.i[1] ? dy : BR__OP(gs->g, ALL_REDUCE, &attr, dy));
}

static void grad_all_gather(struct grads *gs, br_val v, br_val dy)
{
    const struct br_attr attr = back_node(gs, v)->attr;
    br_val x = back_in(gs, v, 0);
    int64_t rows = back_node(gs, x)->shape[0];
    back_add(gs, x,
             attr.i[1] ? br__slice(gs->g, dy, 0, rows * attr.i[3], rows)
                       : BR__OP(gs->g, REDUCE_SCATTER, &attr, dy));
}

static void grad_reduce_scatter(struct grads *gs, br_val v, br_val dy)
{
    const struct br_attr attr = back_node(gs, v)->attr;
    back_add(gs, back_in(gs, v, 0), BR__OP(gs->g, ALL_GATHER, &attr, dy));
}

static void grad_all_to_all(struct grads *gs, br_val v, br_val dy)
{
    const struct br_attr attr = back_node(gs, v)->attr;
    back_add(gs, back_in(gs, v, 0), BR__OP(gs->g, ALL_TO_ALL, &attr, dy));
}

/* The other way. */
static void grad_exchange(struct grads *gs, br_val v, br_val dy)
{
    struct br_attr attr = back_node(gs, v)->attr;
    br_val x = back_in(gs, v, 0), route = back_in(gs, v, 1);
    attr.i[1] = attr.i[1] ? 0 : back_node(gs, x)->shape[0];
    back_add(gs, x, BR__OP(gs->g, EXCHANGE, &attr, dy, route));
}

/* The gradient of what was sent is received from the next stage; dy only marks that it is wanted.
 */
static void grad_send(struct grads *gs, br_val v, br_val dy)
{
    const struct br_attr attr = back_node(gs, v)->attr;
    (void)dy;
    back_add(gs, back_in(gs, v, 0), BR__OP(gs->g, RECV, &attr, back_in(gs, v, 0)));
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
static void back_mark(struct grads *gs, const struct br__want *want, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        gs->wants[want[i].leaf] = 1;
        gs->into[want[i].leaf] = want[i].into;
    }
    for (br_val v = 1; v < gs->n; v++) {
        const struct br__node *x = br__node(gs->g, v);
        for (uint32_t i = 0; i < x->n_in && rules[x->op]; i++)
            gs->wants[v] |= gs->wants[x->in[i]];
    }
}

static br_val back_seed(struct br_graph *g, const struct br__root *root)
{
    static const float one = 1;
    if (root->seed)
        return root->seed;
    return br__node(g, root->v)->op == BR_OP_SEND ? root->v : br__const(g, &one, 1);
}

int br__grad(struct br_graph *g, const struct br__root *roots, size_t n_roots,
             const struct br__want *want, size_t n, br_val *out, struct br_err *err)
{
    if (br__graph_status(g, err))
        return g->err.code;
    struct grads gs = {.g = g, .n = g->n};
    gs.of = br__calloc(gs.n, sizeof *gs.of);
    gs.into = br__calloc(gs.n, sizeof *gs.into);
    gs.wants = br__calloc(gs.n, 1);
    gs.now = br__calloc(gs.n, sizeof *gs.now);
    if (!gs.of || !gs.into || !gs.wants || !gs.now) {
        br__graph_fail(g, BR_E_NOMEM, "out of memory for gradients");
        goto out;
    }
    back_mark(&gs, want, n);
    g->n_wide = 0; /* what was widened for the forward pass is not kept for this one */
    for (size_t i = 0; i < n_roots; i++)
        back_add(&gs, roots[i].v, back_seed(g, &roots[i]));
    for (br_val v = (br_val)gs.n; v-- > 1;) {
        join_columns(&gs, v);
        if (gs.of[v] && gs.wants[v] && rules[br__node(g, v)->op])
            rules[br__node(g, v)->op](&gs, back_now(&gs, v), gs.of[v]);
    }
    for (size_t i = 0; i < n; i++)
        out[i] = gs.of[want[i].leaf];
out:
    br__free(gs.of);
    br__free(gs.into);
    br__free(gs.wants);
    br__free(gs.now);
    br__free(gs.home);
    br__free(gs.cut);
    return br__graph_status(g, err);
}
