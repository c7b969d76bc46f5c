/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* ops.c - the shape rules of ops.def, and its rows as a table.
 *
 * A rule sees a node whose op, inputs and attributes are set and gives it dtype and shape; views
 * also get their base, offset and strides.  A mismatch is a bug of a block or a builder, or a
 * config that the blocks cannot serve, so it is an error with the shapes in it. */
#include "graph_internal.h"
#include <string.h>

static const struct br__node *op_input(const struct br_graph *g, const struct br__node *n,
                                       uint32_t i)
{
    return br__node(g, n->in[i]);
}

/* ---- helpers --------------------------------------------------------------------------------- */

static int op_mismatch(const struct br_graph *g, const struct br__node *n, struct br_err *err)
{
    char text[3][256] = {"", "", ""};
    for (uint32_t i = 0; i < n->n_in && i < 3; i++) {
        const struct br__node *x = op_input(g, n, i);
        char shape[64];
        br__shape_str(x->shape, (int)x->n_dim, shape, sizeof shape);
        snprintf(text[i], sizeof text[i], "%s%s%s%s", shape, x->name ? " ('" : "",
                 x->name ? x->name : "", x->name ? "')" : "");
    }
    return br_fail(err, BR_E_CONFIG, "op %s does not fit its inputs %s %s %s", br__ops[n->op].name,
                   text[0], text[1], text[2]);
}

/* The dtype of a result, by the op's column of ops.def. */
static uint32_t value_dtype(const struct br_graph *g, const struct br__node *n)
{
    switch (br__ops[n->op].value) {
    case BR__VALUE_own:
    case BR__VALUE_view: /* the rule has set it */
        return n->dtype;
    case BR__VALUE_in0:
        return op_input(g, n, 0)->dtype;
    case BR__VALUE_act:
        return g->values ? g->values : BR_F32;
    case BR__VALUE_prod:
        return g->values && n->attr.i[0] == BR_BF16 && n->attr.i[3] != BR_F32 ? g->values : BR_F32;
    case BR__VALUE_f64:
        return BR_F64;
    case BR__VALUE_i32:
        return BR_I32;
    default:
        return BR_F32;
    }
}

static void view_of(const struct br__node *x, struct br__node *n)
{
    n->dtype = x->dtype;
    n->base = x->base;
    n->offset = x->offset;
    n->n_dim = x->n_dim;
    memcpy(n->shape, x->shape, sizeof n->shape);
    memcpy(n->stride, x->stride, sizeof n->stride);
}

/* A fresh contiguous result; each dim must be positive and the product fit. */
static int op_fresh(const struct br_graph *g, struct br__node *n, uint32_t n_dim,
                    const int64_t *shape, struct br_err *err)
{
    uint64_t bytes;
    uint32_t dtype = value_dtype(g, n);
    if (br_shape_bytes(shape, (int)n_dim, br_dtype_size((int)dtype), &bytes) || bytes == 0)
        return br_fail(err, BR_E_CONFIG, "op %s would give an empty or too large tensor",
                       br__ops[n->op].name);
    n->dtype = dtype;
    n->n_dim = n_dim;
    int64_t stride = 1;
    for (uint32_t i = n_dim; i-- > 0;) {
        n->shape[i] = shape[i];
        n->stride[i] = stride;
        stride *= shape[i];
    }
    return 0;
}
#define FRESH(g, n, err, ...)                                                                      \
    op_fresh(g, n, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__},   \
             err)

/* The sum that input i is, to which the op adds what would be its result of that shape. */
static int added_to(const struct br_graph *g, struct br__node *n, uint32_t i, uint32_t n_dim,
                    const int64_t *shape, struct br_err *err)
{
    const struct br__node *sum = op_input(g, n, i);
    if (sum->n_dim != n_dim || memcmp(sum->shape, shape, n_dim * sizeof *shape) != 0)
        return op_mismatch(g, n, err);
    view_of(sum, n);
    return 0;
}
#define ADDED_TO(g, n, i, err, ...)                                                                \
    added_to(g, n, i, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t),                          \
             (int64_t[]){__VA_ARGS__}, err)

static int same_shape(const struct br__node *a, const struct br__node *b)
{
    return a->n_dim == b->n_dim && memcmp(a->shape, b->shape, a->n_dim * sizeof a->shape[0]) == 0;
}
static int64_t op_last(const struct br__node *x)
{
    return x->shape[x->n_dim - 1];
}
/* Elements of x without its first axis. */
static int64_t row_elems(const struct br__node *x)
{
    int64_t n = 1;
    for (uint32_t i = 1; i < x->n_dim; i++)
        n *= x->shape[i];
    return n;
}

/* ---- leaves and views ------------------------------------------------------------------------ */

static int shape_leaf(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    int64_t shape[BR_VIEW_DIMS];
    memcpy(shape, n->shape, sizeof shape);
    return op_fresh(g, n, n->n_dim, shape, err);
}

static int shape_slice(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0);
    int64_t axis = n->attr.i[0], from = n->attr.i[1], len = n->attr.i[2];
    if (axis < 0 || axis >= x->n_dim || from < 0 || len <= 0 || from > x->shape[axis] - len)
        return op_mismatch(g, n, err);
    view_of(x, n);
    n->shape[axis] = len;
    n->offset += from * x->stride[axis];
    return 0;
}

/* Strides of x seen as `shape`, without moving an element: cut both shapes into groups of equal
 * products; a group of x must be one run of memory (numpy's no-copy reshape). */
static int op_restride(const struct br__node *x, uint32_t n_dim, const int64_t *shape,
                       int64_t *stride)
{
    uint32_t i = 0, j = 0;
    while (i < x->n_dim && j < n_dim) {
        uint32_t i0 = i, j0 = j;
        int64_t a = x->shape[i++], b = shape[j++];
        while (a != b) {
            if (a < b && i < x->n_dim)
                a *= x->shape[i++];
            else if (b < a && j < n_dim)
                b *= shape[j++];
            else
                return BR_E_CONFIG;
        }
        for (uint32_t k = i0; k + 1 < i; k++)
            if (x->shape[k] != 1 && x->stride[k] != x->stride[k + 1] * x->shape[k + 1])
                return BR_E_CONFIG;
        int64_t s = x->stride[i - 1];
        for (uint32_t k = j; k-- > j0;) {
            stride[k] = s;
            s *= shape[k];
        }
    }
    for (; i < x->n_dim; i++)
        if (x->shape[i] != 1)
            return BR_E_CONFIG;
    for (; j < n_dim; j++) {
        if (shape[j] != 1)
            return BR_E_CONFIG;
        stride[j] = 1;
    }
    return 0;
}

/* The wanted shape is already in n. */
static int shape_reshape(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0);
    struct br__node want = *n;
    view_of(x, n);
    n->n_dim = want.n_dim;
    memcpy(n->shape, want.shape, sizeof n->shape);
    return op_restride(x, n->n_dim, n->shape, n->stride) ? op_mismatch(g, n, err) : 0;
}

/* ---- matrix products ------------------------------------------------------------------------- */

static int shape_matmul(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0), *w = op_input(g, n, 1);
    if (x->n_dim != 2 || w->n_dim != 2 || x->shape[1] != w->shape[1])
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, x->shape[0], w->shape[0]);
}

static int shape_matmul_nn(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *y = op_input(g, n, 0), *w = op_input(g, n, 1);
    if (y->n_dim != 2 || w->n_dim != 2 || y->shape[1] != w->shape[0])
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, y->shape[0], w->shape[1]);
}

static int shape_matmul_tn(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *y = op_input(g, n, 0), *x = op_input(g, n, 1);
    if (y->n_dim != 2 || x->n_dim != 2 || y->shape[0] != x->shape[0])
        return op_mismatch(g, n, err);
    if (n->op == BR_OP_MATMUL_TN_ADD)
        return ADDED_TO(g, n, 2, err, y->shape[1], x->shape[1]);
    return FRESH(g, n, err, y->shape[1], x->shape[1]);
}

static int shape_grouped(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0), *w = op_input(g, n, 1), *off = op_input(g, n, 2);
    if (x->n_dim != 2 || w->n_dim != 3 || x->shape[1] != w->shape[2] ||
        off->shape[0] != w->shape[0] + 1)
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, x->shape[0], w->shape[1]);
}

static int shape_grouped_nn(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *y = op_input(g, n, 0), *w = op_input(g, n, 1);
    if (y->n_dim != 2 || w->n_dim != 3 || y->shape[1] != w->shape[1])
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, y->shape[0], w->shape[2]);
}

static int shape_grouped_tn(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *y = op_input(g, n, 0), *x = op_input(g, n, 1), *off = op_input(g, n, 2);
    if (y->n_dim != 2 || x->n_dim != 2 || y->shape[0] != x->shape[0] || off->shape[0] < 2)
        return op_mismatch(g, n, err);
    if (n->op == BR_OP_GROUPED_MATMUL_TN_ADD)
        return ADDED_TO(g, n, 3, err, off->shape[0] - 1, y->shape[1], x->shape[1]);
    return FRESH(g, n, err, off->shape[0] - 1, y->shape[1], x->shape[1]);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static int shape_embed(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *table = op_input(g, n, 0), *ids = op_input(g, n, 1);
    if (table->n_dim != 2 || ids->n_dim != 1)
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, ids->shape[0], table->shape[1]);
}

static int shape_embed_grad(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    return FRESH(g, n, err, n->attr.i[1], op_input(g, n, 0)->shape[1]);
}

static int shape_embed_grad_add(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *sum = op_input(g, n, 2);
    if (sum->n_dim != 2 || op_input(g, n, 1)->shape[0] != op_input(g, n, 0)->shape[0])
        return op_mismatch(g, n, err);
    return ADDED_TO(g, n, 2, err, sum->shape[0], op_input(g, n, 0)->shape[1]);
}

static int shape_gather_rows(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0), *rows = op_input(g, n, 1);
    if (x->n_dim != 2 || rows->n_dim != 1)
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, rows->shape[0], x->shape[1]);
}

static int shape_scatter_rows(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    return FRESH(g, n, err, n->attr.i[0], op_input(g, n, 0)->shape[1]);
}

static int shape_concat(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    int64_t cols = 0;
    for (uint32_t i = 0; i < n->n_in; i++) {
        const struct br__node *x = op_input(g, n, i);
        if (x->n_dim < 2 || x->shape[0] != op_input(g, n, 0)->shape[0])
            return op_mismatch(g, n, err);
        cols += row_elems(x);
    }
    return FRESH(g, n, err, op_input(g, n, 0)->shape[0], cols);
}

static int shape_pad(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0);
    uint32_t axis = n->attr.i[2] ? 0 : x->n_dim - 1;
    int64_t shape[BR_VIEW_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    if (n->attr.i[0] < 0 || n->attr.i[1] < n->attr.i[0] + shape[axis])
        return op_mismatch(g, n, err);
    shape[axis] = n->attr.i[1];
    return op_fresh(g, n, x->n_dim, shape, err);
}

static int shape_interleave(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0);
    int64_t p = n->attr.i[0];
    if (x->n_dim != 2 || p < 1 || x->shape[0] % p)
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, x->shape[0] / p, x->shape[1] * p);
}

static int shape_deinterleave(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0);
    int64_t p = n->attr.i[0];
    if (x->n_dim != 2 || p < 1 || x->shape[1] % p)
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, x->shape[0] * p, x->shape[1] / p);
}

/* ---- elementwise, broadcast, norms ----------------------------------------------------------- */

/* How the second input must relate to the first: alike, one value per column, one per row. */
static int second_fits(const struct br__node *n, const struct br__node *x, const struct br__node *y)
{
    switch (n->op) {
    case BR_OP_ADD_ROW:
    case BR_OP_MUL_ROW:
    case BR_OP_RMSNORM:
    case BR_OP_RMSNORM_DX:
        return y->n_dim == 1 && y->shape[0] == op_last(x);
    case BR_OP_DROPOUT:
        return y->dtype == BR_I32 && y->n_dim == 1 &&
               (y->shape[0] == 2 || y->shape[0] == 2 + x->shape[0]);
    case BR_OP_MUL_COL:
        return x->n_dim == 2 && y->n_dim == 2 && y->shape[0] == x->shape[0] && y->shape[1] == 1;
    case BR_OP_ROPE:
        return x->n_dim == 3 && y->n_dim == 1 && y->shape[0] == x->shape[0];
    case BR_OP_AFTER:
        return 1;
    default:
        return same_shape(x, y) && x->dtype == y->dtype;
    }
}

/* Numbers of n rows, each as two floats. */
static int are_halves(const struct br__node *x, int64_t n)
{
    return x->dtype == BR_F32 && x->n_dim == 2 && x->shape[0] == n && x->shape[1] == 2 &&
           x->stride[0] == 2;
}

static int shape_same(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0);
    if (n->n_in > 1 && !second_fits(n, x, op_input(g, n, 1)))
        return op_mismatch(g, n, err);
    if (n->op == BR_OP_ROPE && 2 * br__node_elems(op_input(g, n, 2)) > op_last(x))
        return op_mismatch(g, n, err);
    if (n->op == BR_OP_DROPOUT && n->n_in > 2 && !are_halves(op_input(g, n, 2), x->shape[0]))
        return op_mismatch(g, n, err);
    if (br__op_kind(n->op) == BR__OP_VIEW) {
        view_of(x, n);
        return 0;
    }
    return op_fresh(g, n, x->n_dim, x->shape, err);
}

static int shape_add_to(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 1);
    return added_to(g, n, 0, x->n_dim, x->shape, err);
}

static int shape_cast(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    n->dtype = (uint32_t)n->attr.i[0];
    return op_fresh(g, n, op_input(g, n, 0)->n_dim, op_input(g, n, 0)->shape, err);
}

static int shape_log_sum_exp(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0);
    return x->n_dim == 2 ? FRESH(g, n, err, x->shape[0], 1) : op_mismatch(g, n, err);
}

static int shape_square_sums(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0);
    if (x->n_dim != 1)
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, (x->shape[0] + 65535) / 65536);
}

static int shape_adamw(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    for (uint32_t i = 0; i < n->n_in; i++)
        if (op_input(g, n, i)->n_dim != 1 ||
            op_input(g, n, i)->shape[0] != (i == 4 ? 8 : op_input(g, n, 0)->shape[0]))
            return op_mismatch(g, n, err);
    view_of(op_input(g, n, 0), n);
    return 0;
}

static int shape_sum_rows(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0);
    return x->n_dim == 2 ? FRESH(g, n, err, x->shape[1]) : op_mismatch(g, n, err);
}

static int shape_fill_rows(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0);
    return x->n_dim == 1 ? FRESH(g, n, err, n->attr.i[0], x->shape[0]) : op_mismatch(g, n, err);
}

static int shape_dot_rows(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0);
    if (x->n_dim != 2 || !same_shape(x, op_input(g, n, 1)))
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, x->shape[0], 1);
}

static int shape_norm_dw(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    return FRESH(g, n, err, op_last(op_input(g, n, 0)));
}

/* ---- attention ------------------------------------------------------------------------------- */

static int shape_attention(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *q = op_input(g, n, 0), *k = op_input(g, n, 1), *v = op_input(g, n, 2);
    if (q->n_dim != 3 || k->n_dim != 3 || !same_shape(k, v) || q->shape[2] != k->shape[2] ||
        q->shape[1] % k->shape[1] || k->dtype != v->dtype)
        return op_mismatch(g, n, err);
    if (n->n_in > 4 &&
        (op_input(g, n, 4)->n_dim != 2 || op_input(g, n, 4)->shape[0] != q->shape[0] ||
         op_input(g, n, 4)->shape[1] != q->shape[1]))
        return op_mismatch(g, n, err);
    return op_fresh(g, n, 3, q->shape, err);
}

static int shape_attention_grad(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *q = op_input(g, n, 0), *k = op_input(g, n, 1);
    if (q->shape[0] > k->shape[0] || n->n_in == 6 ||
        (n->n_in > 6 && (!same_shape(op_input(g, n, 5), q) ||
                         br__node_elems(op_input(g, n, 6)) != q->shape[0] * q->shape[1])))
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, k->shape[0], row_elems(q) + 2 * row_elems(k));
}

/* The cache itself: a view, so that readers of the result are ordered after the write. */
static int shape_cache_write(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *cache = op_input(g, n, 0), *x = op_input(g, n, 1);
    if (cache->n_dim != 3 || x->n_dim != 3 || row_elems(cache) != row_elems(x) ||
        op_input(g, n, 2)->shape[0] != x->shape[0])
        return op_mismatch(g, n, err);
    view_of(cache, n);
    return 0;
}

/* ---- several ops as one ---------------------------------------------------------------------- */

/* Whether w is the weight of a norm of x that a product makes itself. */
static int norm_fits(const struct br__node *x, const struct br__node *w)
{
    return w->n_dim == 1 && w->shape[0] == x->shape[1] &&
           br__node_elems(x) * (int64_t)br_dtype_size((int)x->dtype) <= BR_NORM_BYTES;
}

static int shape_linear(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0), *w = op_input(g, n, 1);
    const int64_t flags = n->attr.i[1], norm = flags & BR_LINEAR_NORM;
    const int64_t tail = flags & (BR_LINEAR_BIAS | BR_LINEAR_ADD), glu = flags & BR_LINEAR_GLU;
    if (x->n_dim != 2 || w->n_dim != 2 || x->shape[1] != w->shape[1] || x->shape[0] > BR_FEW_ROWS ||
        n->n_in != 2u + (norm != 0) + (tail != 0) || (glu && (tail || w->shape[0] % 2)))
        return op_mismatch(g, n, err);
    const int64_t cols = glu ? w->shape[0] / 2 : w->shape[0];
    const struct br__node *last = op_input(g, n, n->n_in - 1);
    if (norm && !norm_fits(x, op_input(g, n, 2)))
        return op_mismatch(g, n, err);
    if (tail && (op_last(last) != cols || last->n_dim != (flags & BR_LINEAR_ADD ? 2 : 1) ||
                 (last->n_dim == 2 && last->shape[0] != x->shape[0])))
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, x->shape[0], cols);
}

static int shape_heads(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *y = op_input(g, n, 0), *k = op_input(g, n, 3), *v = op_input(g, n, 4);
    const int64_t heads = n->attr.i[0], d = op_last(k);
    if (y->n_dim != 2 || k->n_dim != 3 || !same_shape(k, v) || heads < 1 || n->n_in == 7 ||
        y->shape[1] != (heads * (n->attr.i[1] ? 2 : 1) + 2 * k->shape[1]) * d ||
        2 * br__node_elems(op_input(g, n, 2)) > d || op_input(g, n, 1)->shape[0] != y->shape[0] ||
        op_input(g, n, 5)->shape[0] != y->shape[0])
        return op_mismatch(g, n, err);
    for (uint32_t i = 6; i < n->n_in; i++)
        if (op_input(g, n, i)->n_dim != 1 || op_input(g, n, i)->shape[0] != d)
            return op_mismatch(g, n, err);
    return FRESH(g, n, err, y->shape[0], heads, d);
}

static int few_choices(const struct br__node *logits, int64_t k)
{
    return logits->n_dim == 2 && logits->shape[0] <= BR_FEW_ROWS && logits->shape[1] <= 1024 &&
           k >= 1 && k <= logits->shape[1] && logits->shape[0] * k <= BR_FEW_SLOTS;
}

static int shape_route_share(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0);
    if (!few_choices(x, n->attr.i[0]))
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, x->shape[0], n->attr.i[0]);
}

static int shape_route_sort(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0);
    if (!few_choices(x, n->attr.i[0]) || n->attr.i[2] < 1 || n->attr.i[2] > x->shape[1])
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, n->attr.i[2] + 1 + x->shape[0] * n->attr.i[0]);
}

static int shape_experts_up(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0), *w = op_input(g, n, 1);
    const int64_t norm = n->attr.i[1] & BR_LINEAR_NORM, k = n->attr.i[2];
    if (x->n_dim != 2 || w->n_dim != 3 || w->shape[1] % 2 || x->shape[1] != w->shape[2] || k < 1 ||
        x->shape[0] > BR_FEW_ROWS || x->shape[0] * k > BR_FEW_SLOTS || w->shape[0] > 1024 ||
        op_input(g, n, 2)->shape[0] != w->shape[0] + 1 + x->shape[0] * k ||
        n->n_in != 3u + (norm != 0) || (norm && !norm_fits(x, op_input(g, n, 3))))
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, x->shape[0] * k, w->shape[1] / 2);
}

static int shape_experts_down(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *y = op_input(g, n, 0), *w = op_input(g, n, 1), *p = op_input(g, n, 3);
    if (y->n_dim != 2 || w->n_dim != 3 || p->n_dim != 2 || y->shape[1] != w->shape[2] ||
        y->shape[0] != p->shape[0] * p->shape[1] || y->shape[0] > BR_FEW_SLOTS ||
        p->shape[0] > BR_FEW_ROWS || w->shape[0] > 1024 ||
        op_input(g, n, 2)->shape[0] != w->shape[0] + 1 + y->shape[0])
        return op_mismatch(g, n, err);
    const struct br__node *last = op_input(g, n, n->n_in - 1);
    if (n->n_in > 4 &&
        (last->n_dim != 2 || last->shape[0] != p->shape[0] || last->shape[1] != w->shape[1]))
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, p->shape[0], w->shape[1]);
}

static int shape_gdn_step(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *y = op_input(g, n, 0), *w = op_input(g, n, 1), *conv = op_input(g, n, 5),
                          *state = op_input(g, n, 6);
    if (y->n_dim != 2 || w->n_dim != 2 || conv->n_dim != 3 || state->n_dim != 4 ||
        n->attr.i[0] < 1 || state->shape[1] % n->attr.i[0])
        return op_mismatch(g, n, err);
    const int64_t heads = state->shape[1], dv = state->shape[3];
    const int64_t channels = 2 * n->attr.i[0] * state->shape[2] + heads * dv;
    if (w->shape[0] != channels || conv->shape[2] != channels ||
        conv->shape[1] != w->shape[1] - 1 || y->shape[1] != channels + heads * dv + 2 * heads ||
        op_input(g, n, 4)->shape[0] != y->shape[0] || op_input(g, n, 2)->shape[0] != heads ||
        op_input(g, n, 3)->shape[0] != heads)
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, y->shape[0], heads, dv);
}

/* ---- routing --------------------------------------------------------------------------------- */

static int shape_topk(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0);
    if (x->n_dim != 2 || n->attr.i[0] < 1 || n->attr.i[0] > x->shape[1])
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, x->shape[0], n->attr.i[0]);
}

static int shape_select(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0);
    const int64_t k = n->attr.i[0], room = n->attr.i[1];
    if (x->n_dim != 2 || k < 1 || k > BR__MIN(x->shape[1], 128) || room < k)
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, x->shape[0], 2 + 2 * room);
}

static int shape_advance(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *ids = op_input(g, n, 0), *seqs = op_input(g, n, 3);
    const struct br__node *best = op_input(g, n, 4);
    for (uint32_t i = 0; i < n->n_in; i++)
        if (op_input(g, n, i)->dtype != BR_I32 || op_input(g, n, i)->n_dim != (i < 3 ? 1 : 2))
            return op_mismatch(g, n, err);
    for (uint32_t i = 1; i < 3; i++)
        if (op_input(g, n, i)->shape[0] != ids->shape[0])
            return op_mismatch(g, n, err);
    if (seqs->shape[1] != 5 || best->shape[1] < 4 ||
        best->shape[0] > BR__MIN(ids->shape[0], seqs->shape[0]))
        return op_mismatch(g, n, err);
    view_of(ids, n);
    return 0;
}

static int shape_gather_cols(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *idx = op_input(g, n, 1);
    return FRESH(g, n, err, idx->shape[0], idx->shape[1]);
}

static int shape_scatter_cols(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    return FRESH(g, n, err, op_input(g, n, 0)->shape[0], n->attr.i[0]);
}

static int shape_count_cols(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    return FRESH(g, n, err, n->attr.i[0]);
}

static int shape_moe_sort(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *idx = op_input(g, n, 0);
    return FRESH(g, n, err, n->attr.i[1] + 1 + idx->shape[0] * idx->shape[1]);
}

static int shape_moe_gather(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    return FRESH(g, n, err, op_input(g, n, 1)->shape[0], op_input(g, n, 0)->shape[1]);
}

static int shape_moe_gather_grad(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    return FRESH(g, n, err, n->attr.i[1], op_input(g, n, 0)->shape[1]);
}

static int shape_moe_combine(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *y = op_input(g, n, 0), *p = op_input(g, n, 1);
    if (op_input(g, n, 2)->shape[0] != y->shape[0])
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, p->shape[0], y->shape[1]);
}

static int shape_moe_combine_dy(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    return FRESH(g, n, err, op_input(g, n, 2)->shape[0], op_input(g, n, 0)->shape[1]);
}

static int shape_moe_combine_dp(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    return FRESH(g, n, err, op_input(g, n, 0)->shape[0], n->attr.i[0]);
}

/* ---- gated delta net ------------------------------------------------------------------------- */

static int shape_conv1d(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0), *w = op_input(g, n, 1);
    if (x->n_dim != 2 || w->n_dim != 2 || x->shape[1] != w->shape[0])
        return op_mismatch(g, n, err);
    return op_fresh(g, n, 2, x->shape, err);
}

static int shape_conv1d_dx(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    return op_fresh(g, n, 2, op_input(g, n, 0)->shape, err);
}

static int shape_conv1d_dw(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    return op_fresh(g, n, 2, op_input(g, n, 1)->shape, err);
}

static int shape_gdn_decay(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *a = op_input(g, n, 0);
    if (a->n_dim != 2 || op_input(g, n, 1)->shape[0] != a->shape[1] ||
        op_input(g, n, 2)->shape[0] != a->shape[1])
        return op_mismatch(g, n, err);
    return op_fresh(g, n, 2, a->shape, err);
}

static int shape_delta_rule(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *q = op_input(g, n, 0), *k = op_input(g, n, 1), *v = op_input(g, n, 2);
    if (q->n_dim != 3 || v->n_dim != 3 || !same_shape(q, k) || v->shape[0] != q->shape[0] ||
        v->shape[1] % q->shape[1] || op_input(g, n, 3)->shape[1] != v->shape[1])
        return op_mismatch(g, n, err);
    return op_fresh(g, n, 3, v->shape, err);
}

static int shape_delta_rule_grad(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *q = op_input(g, n, 0), *v = op_input(g, n, 2);
    return FRESH(g, n, err, q->shape[0], 2 * row_elems(q) + row_elems(v) + 2 * v->shape[1]);
}

/* ---- losses, adapters, collectives ----------------------------------------------------------- */

static int shape_loss(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    if (op_input(g, n, 0)->n_dim != 2 || op_input(g, n, 0)->shape[0] != op_input(g, n, 1)->shape[0])
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, 1);
}

static int shape_loss_grad(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    return op_fresh(g, n, 2, op_input(g, n, 0)->shape, err);
}

/* Whether x[T, h], w[V, h] and labels[T] fit. */
static int head_fits(const struct br_graph *g, const struct br__node *n)
{
    const struct br__node *x = op_input(g, n, 0), *w = op_input(g, n, 1),
                          *labels = op_input(g, n, 2);
    return x->n_dim == 2 && w->n_dim == 2 && x->shape[1] == w->shape[1] && labels->n_dim == 1 &&
           labels->shape[0] == x->shape[0];
}

static int shape_head_stats(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    return head_fits(g, n) ? FRESH(g, n, err, op_input(g, n, 0)->shape[0], 3)
                           : op_mismatch(g, n, err);
}

static int shape_head_loss(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0), *stats = op_input(g, n, 3);
    if (!head_fits(g, n) || stats->n_dim != 2 || stats->shape[1] != 3 ||
        stats->shape[0] % x->shape[0])
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, x->shape[0]);
}

static int shape_head_grad(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0), *y = op_input(g, n, 4);
    if (!head_fits(g, n) || y->n_dim != 1 || y->shape[0] != x->shape[0] ||
        (n->n_in > 5 && !same_shape(op_input(g, n, 5), op_input(g, n, 1))))
        return op_mismatch(g, n, err);
    return op_fresh(g, n, 2, x->shape, err);
}

static int shape_head_pass(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *loss = op_input(g, n, 4), *y = op_input(g, n, 3);
    if (loss->n_dim != 1 || !same_shape(loss, y))
        return op_mismatch(g, n, err);
    return shape_head_grad(g, n, err);
}

static int shape_dora(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *w = op_input(g, n, 0), *a = op_input(g, n, 1), *b = op_input(g, n, 2);
    if (a->shape[1] != w->shape[1] || b->shape[0] != w->shape[0] || a->shape[0] != b->shape[1])
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, w->shape[0]);
}

static int shape_all_gather(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0);
    int64_t shape[BR_VIEW_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    shape[0] *= n->attr.i[2];
    return op_fresh(g, n, x->n_dim, shape, err);
}

static int shape_reduce_scatter(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0);
    int64_t shape[BR_VIEW_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    if (n->attr.i[2] < 1 || shape[0] % n->attr.i[2])
        return op_mismatch(g, n, err);
    shape[0] /= n->attr.i[2];
    return op_fresh(g, n, x->n_dim, shape, err);
}

static int shape_moe_route(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *sent = op_input(g, n, 0), *got = op_input(g, n, 1);
    int64_t room = n->attr.i[1], ranks = n->attr.i[2];
    if (sent->n_dim != 1 || !same_shape(sent, got) || room < 1 || ranks < 1 ||
        sent->shape[0] % ranks)
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, sent->shape[0] / ranks + 1 + room);
}

static int shape_exchange(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    const struct br__node *x = op_input(g, n, 0), *route = op_input(g, n, 1);
    if (x->n_dim != 2 || route->op != BR_OP_MOE_ROUTE)
        return op_mismatch(g, n, err);
    return FRESH(g, n, err, n->attr.i[1] ? n->attr.i[1] : route->attr.i[1], x->shape[1]);
}

/* A RECV has no input to take its shape from: the wanted one is already in it, or it is that of
 * the value that it follows (in[0]). */
static int shape_recv(const struct br_graph *g, struct br__node *n, struct br_err *err)
{
    if (n->n_in) {
        n->dtype = op_input(g, n, 0)->dtype;
        return op_fresh(g, n, op_input(g, n, 0)->n_dim, op_input(g, n, 0)->shape, err);
    }
    return shape_leaf(g, n, err);
}

/* ---- the table ------------------------------------------------------------------------------- */

enum br__op_kind br__op_kind(uint32_t op)
{
    if (op <= BR_OP_STATE)
        return BR__OP_LEAF;
    if (op <= BR_OP_BRANCH || op == BR_OP_AFTER)
        return BR__OP_VIEW;
    if ((op >= BR_OP_ALL_REDUCE && op <= BR_OP_RECV) ||
        (op >= BR_OP_ALL_TO_ALL && op <= BR_OP_EXCHANGE))
        return BR__OP_COMM;
    return BR__OP_COMPUTE;
}

/* clang-format off */
const struct br__op_row br__ops[BR_N_OPS] = {
#define OP(name, min, max, shape, grad, weight, value)                                             \
    [BR_OP_##name] = {#name, min, max, shape_##shape, BR__WEIGHT_##weight, BR__VALUE_##value},
#include <bridge/ops.def>
#undef OP
};
/* clang-format on */
