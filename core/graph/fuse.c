/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* fuse.c - ops of a graph for inference that a device can carry out by one kernel become one op.
 *
 * A pattern ends in a node, which becomes the fused op; the nodes before it are left to nobody and
 * are not run.  They must have no other user, and a kernel must be there: where it is not, the
 * graph stays as it is. */
#include "graph_internal.h"
#include <string.h>

struct fusing {
    struct br_graph *g;
    uint32_t *users; /* [g->n] nodes that use it and are needed; an output has one more */
    size_t n;
};

static struct br__node *node_at(const struct fusing *f, br_val v)
{
    return &f->g->nodes[v];
}
static int is_op(const struct fusing *f, br_val v, uint32_t op)
{
    return node_at(f, v)->op == op;
}
/* Made by that op, for one user alone. */
static int is_own(const struct fusing *f, br_val v, uint32_t op)
{
    return is_op(f, v, op) && f->users[v] == 1;
}

static void count_users(struct fusing *f, const br_val *outputs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        f->users[outputs[i]]++;
    for (br_val v = (br_val)f->n; v-- > 1;)
        for (uint32_t i = 0; f->users[v] && i < node_at(f, v)->n_in; i++)
            f->users[node_at(f, v)->in[i]]++;
}

/* Give n its shape; whether the device has a kernel for it. */
static int takes(const struct fusing *f, struct br__node *n)
{
    uint32_t in[BR_MAX_IN];
    for (uint32_t i = 0; i < n->n_in; i++)
        in[i] = node_at(f, n->in[i])->dtype;
    return !br__ops[n->op].shape(f->g, n, NULL) &&
           br__device_kernel(f->g->device, br__kernel_key(n->op, in, n->n_in, n->dtype));
}

/* Node v becomes n, if the device has it and it is of the same shape and dtype. */
static int become(const struct fusing *f, br_val v, struct br__node n)
{
    const struct br__node *old = node_at(f, v);
    if (!takes(f, &n) || n.dtype != old->dtype || n.n_dim != old->n_dim ||
        memcmp(n.shape, old->shape, sizeof n.shape) != 0)
        return 0;
    n.base = v;
    n.name = old->name;
    *node_at(f, v) = n;
    return 1;
}

/* ---- products -------------------------------------------------------------------------------- */

/* The product y as a LINEAR that does more. */
static struct br__node linear_of(const struct fusing *f, br_val y, int64_t flags, br_val more)
{
    const struct br__node *p = node_at(f, y);
    struct br__node n = {.op = BR_OP_LINEAR, .n_in = 2, .in = {p->in[0], p->in[1]}};
    n.attr.i[0] = p->attr.i[0];
    n.attr.i[1] = flags;
    n.attr.i[3] = p->attr.i[3];
    if (more)
        n.in[n.n_in++] = more;
    return n;
}

/* ---- experts --------------------------------------------------------------------------------- */

/* The MOE_SORT whose offsets and order these are; 0: none. */
static br_val sorted_of(const struct fusing *f, br_val offsets, br_val order)
{
    const struct br__node *a = node_at(f, offsets), *b = node_at(f, order);
    const br_val s = a->base;
    int fits = a->op == BR_OP_SLICE && b->op == BR_OP_SLICE && b->base == s && a->offset == 0 &&
               b->offset == a->shape[0] && node_at(f, s)->n_dim == 1 &&
               a->shape[0] + b->shape[0] == node_at(f, s)->shape[0];
    return fits && (is_op(f, s, BR_OP_MOE_SORT) || is_op(f, s, BR_OP_ROUTE_SORT)) ? s : 0;
}

/* y: what gate and up are slices of. */
static void fuse_experts_up(const struct fusing *f, br_val v, br_val y)
{
    const struct br__node *product = node_at(f, y), *x = node_at(f, product->in[0]);
    if (!is_own(f, product->in[0], BR_OP_MOE_GATHER))
        return;
    struct br__node n = {.op = BR_OP_EXPERTS_UP,
                         .n_in = 3,
                         .in = {x->in[0], product->in[1], sorted_of(f, product->in[2], x->in[1])}};
    n.attr.i[0] = product->attr.i[0];
    n.attr.i[2] = x->attr.i[0];
    n.attr.i[3] = product->attr.i[3];
    if (n.in[2])
        become(f, v, n);
}

static void fuse_combine(const struct fusing *f, br_val v)
{
    const struct br__node *c = node_at(f, v), *y = node_at(f, c->in[0]);
    if (!is_own(f, c->in[0], BR_OP_GROUPED_MATMUL))
        return;
    struct br__node n = {.op = BR_OP_EXPERTS_DOWN,
                         .n_in = 4,
                         .in = {y->in[0], y->in[1], sorted_of(f, y->in[2], c->in[2]), c->in[1]}};
    n.attr.i[0] = y->attr.i[0];
    n.attr.i[3] = y->attr.i[3];
    if (n.in[2])
        become(f, v, n);
}

static void fuse_sort(const struct fusing *f, br_val v)
{
    const struct br__node *s = node_at(f, v), *idx = node_at(f, s->in[0]);
    struct br__node n = {.op = BR_OP_ROUTE_SORT, .n_in = 1, .in = {idx->in[0]}};
    n.attr.i[0] = idx->attr.i[0];
    n.attr.i[1] = s->attr.i[0];
    n.attr.i[2] = s->attr.i[1];
    if (idx->op == BR_OP_TOPK)
        become(f, v, n);
}

/* Shares of those that TOPK names: their logits through SOFTMAX, or the other way round. */
static void fuse_share(const struct fusing *f, br_val v)
{
    const struct br__node *last = node_at(f, v), *one = node_at(f, last->in[0]);
    const int of_all = last->op == BR_OP_GATHER_COLS;
    const struct br__node *gather = of_all ? last : one;
    if (one->op != (of_all ? BR_OP_SOFTMAX : BR_OP_GATHER_COLS) || f->users[last->in[0]] != 1)
        return;
    const struct br__node *idx = node_at(f, gather->in[1]);
    struct br__node n = {.op = BR_OP_ROUTE_SHARE, .n_in = 1, .in = {one->in[0]}};
    n.attr.i[0] = idx->attr.i[0];
    n.attr.i[1] = of_all;
    if (idx->op == BR_OP_TOPK && idx->in[0] == one->in[0])
        become(f, v, n);
}

/* gate and up are the halves of one product. */
static void fuse_swiglu(const struct fusing *f, br_val v)
{
    const struct br__node *n = node_at(f, v);
    if (!is_own(f, n->in[0], BR_OP_SLICE) || !is_own(f, n->in[1], BR_OP_SLICE))
        return;
    const struct br__node *gate = node_at(f, n->in[0]), *up = node_at(f, n->in[1]);
    const br_val y = gate->in[0];
    if (up->in[0] != y || f->users[y] != 2 || gate->n_dim != 2 || node_at(f, y)->base != y ||
        gate->offset != 0 || up->offset != gate->shape[1] ||
        node_at(f, y)->shape[1] != 2 * gate->shape[1])
        return;
    if (is_op(f, y, BR_OP_MATMUL))
        become(f, v, linear_of(f, y, BR_LINEAR_GLU, 0));
    else if (is_op(f, y, BR_OP_GROUPED_MATMUL))
        fuse_experts_up(f, v, y);
}

/* ---- sums ------------------------------------------------------------------------------------ */

static void fuse_add_row(const struct fusing *f, br_val v)
{
    const struct br__node *n = node_at(f, v);
    if (is_own(f, n->in[0], BR_OP_MATMUL))
        become(f, v, linear_of(f, n->in[0], BR_LINEAR_BIAS, n->in[1]));
}

/* What y is of and what is added to it, as one. */
static struct br__node with_residual(const struct fusing *f, br_val y, br_val residual)
{
    if (is_op(f, y, BR_OP_MATMUL))
        return linear_of(f, y, BR_LINEAR_ADD, residual);
    struct br__node n = *node_at(f, y);
    n.in[n.n_in++] = residual;
    return n;
}

static void fuse_add(const struct fusing *f, br_val v)
{
    const br_val a = node_at(f, v)->in[0], b = node_at(f, v)->in[1];
    for (int i = 0; i < 2 && a != b; i++) {
        const br_val y = i ? b : a;
        int fits = is_own(f, y, BR_OP_MATMUL) ||
                   (is_own(f, y, BR_OP_EXPERTS_DOWN) && node_at(f, y)->n_in == 4);
        if (fits && become(f, v, with_residual(f, y, i ? a : b)))
            return;
    }
}

/* ---- norms ----------------------------------------------------------------------------------- */

/* A product of x, which may be widened before, as one of the norm's own input. */
static int with_norm(const struct fusing *f, br_val v, br_val norm, struct br__node *out)
{
    const struct br__node *n = node_at(f, v), *x = node_at(f, norm);
    struct br__node l = *n;
    if (n->op == BR_OP_MATMUL)
        l = linear_of(f, v, 0, 0);
    else if ((n->op != BR_OP_LINEAR && n->op != BR_OP_EXPERTS_UP) || n->attr.i[1] & BR_LINEAR_NORM)
        return 0;
    const uint32_t at = n->op == BR_OP_EXPERTS_UP ? 3 : 2; /* of the norm's weight */
    for (uint32_t i = l.n_in++; i > at; i--)
        l.in[i] = l.in[i - 1];
    l.in[at] = x->in[1];
    l.in[0] = x->in[0];
    l.attr.i[1] |= BR_LINEAR_NORM | (x->attr.i[0] ? BR_LINEAR_PLUS_ONE : 0);
    l.attr.f[0] = x->attr.f[0];
    *out = l;
    return takes(f, out) && out->dtype == n->dtype;
}

/* Call fn for each product of the norm x, or of what it is widened to; 0: it has another user. */
static int each_product(const struct fusing *f, br_val x, br_val norm,
                        void (*fn)(const struct fusing *f, br_val v, const struct br__node *n))
{
    uint32_t found = 0;
    for (br_val v = x + 1; v < f->n && found < f->users[x]; v++) {
        const struct br__node *n = node_at(f, v);
        struct br__node l;
        for (uint32_t i = 0; f->users[v] && i < n->n_in; i++) {
            if (n->in[i] != x)
                continue;
            int is_wide = n->op == BR_OP_CAST && n->dtype == BR_F32 && x == norm;
            if (i > 0 || !(is_wide ? each_product(f, v, norm, fn) : with_norm(f, v, norm, &l)))
                return 0;
            if (fn && !is_wide)
                fn(f, v, &l);
            found++;
            break;
        }
    }
    return found == f->users[x];
}

static void set_node(const struct fusing *f, br_val v, const struct br__node *n)
{
    struct br__node *to = node_at(f, v);
    const char *name = to->name;
    *to = *n;
    to->base = v;
    to->name = name;
}

/* Where all that use a norm can make it themselves. */
static void fuse_norm(const struct fusing *f, br_val v)
{
    if (node_at(f, v)->n_dim == 2 && each_product(f, v, v, NULL))
        (void)each_product(f, v, v, set_node);
}

/* ---- heads ----------------------------------------------------------------------------------- */

/* What queries or keys were before they were turned and normed. */
struct head_part {
    const struct br__node *rope, *norm, *x; /* norm: NULL without one */
};

static int find_part(const struct fusing *f, br_val v, struct head_part *p)
{
    if (!is_own(f, v, BR_OP_ROPE) || node_at(f, v)->attr.i[0])
        return 0;
    p->rope = node_at(f, v);
    br_val x = p->rope->in[0];
    p->norm = is_own(f, x, BR_OP_RMSNORM) ? node_at(f, x) : NULL;
    p->x = node_at(f, p->norm ? p->norm->in[0] : x);
    return 1;
}

/* Whether x[T, H, d] is columns at .. of y[T, n], its heads `step` apart. */
static int is_columns(const struct br__node *x, const struct br__node *y, br_val base, int64_t at,
                      int64_t step)
{
    return x->base == base && x->n_dim == 3 && x->offset == at && x->stride[0] == y->stride[0] &&
           x->stride[1] == step && x->shape[0] == y->shape[0];
}

/* q, k and v as the columns of one y: its node, or 0; gated: a gate behind each head of q. */
static br_val columns_of(const struct fusing *f, const struct head_part *q,
                         const struct head_part *k, const struct br__node *v, int *gated)
{
    const br_val base = q->x->base;
    const struct br__node *y = node_at(f, base);
    const int64_t d = q->x->shape[2], hq = q->x->shape[1], hk = v->shape[1];
    *gated = y->n_dim == 2 && y->shape[1] == (2 * hq + 2 * hk) * d;
    const int64_t step = *gated ? 2 * d : d, keys = hq * step;
    int fits = y->n_dim == 2 && is_columns(q->x, y, base, 0, step) &&
               is_columns(k->x, y, base, keys, d) && is_columns(v, y, base, keys + hk * d, d) &&
               y->shape[1] == keys + 2 * hk * d;
    return fits ? base : 0;
}

static int are_alike(const struct head_part *q, const struct head_part *k)
{
    const struct br__node *a = q->rope, *b = k->rope, *m = q->norm, *n = k->norm;
    return a->in[1] == b->in[1] && a->in[2] == b->in[2] && a->attr.f[0] == b->attr.f[0] &&
           !m == !n && (!m || (m->attr.i[0] == n->attr.i[0] && m->attr.f[0] == n->attr.f[0]));
}

/* From the products of a layer to its attention: norms of heads, rotation, caches.  The second
 * write to a cache becomes the op. */
static void fuse_heads(const struct fusing *f, br_val v)
{
    struct br__node *a = node_at(f, v);
    struct head_part q, k;
    int gated;
    if (a->n_in != 4 || !is_own(f, a->in[1], BR_OP_CACHE_WRITE) ||
        !is_own(f, a->in[2], BR_OP_CACHE_WRITE))
        return;
    const br_val at = a->in[2];
    const struct br__node *keys = node_at(f, a->in[1]), *values = node_at(f, at);
    if (!find_part(f, a->in[0], &q) || !find_part(f, keys->in[1], &k) || !are_alike(&q, &k) ||
        keys->in[2] != values->in[2])
        return;
    const br_val y = columns_of(f, &q, &k, node_at(f, values->in[1]), &gated);
    struct br__node n = {.op = BR_OP_HEADS,
                         .n_in = q.norm ? 8 : 6,
                         .in = {y, q.rope->in[1], q.rope->in[2], keys->in[0], values->in[0],
                                keys->in[2], q.norm ? q.norm->in[1] : 0,
                                k.norm ? k.norm->in[1] : 0}};
    n.attr.i[0] = q.x->shape[1];
    n.attr.i[1] = gated;
    n.attr.i[2] = q.norm ? q.norm->attr.i[0] : 0;
    n.attr.f[0] = q.norm ? q.norm->attr.f[0] : 0;
    n.attr.f[1] = q.rope->attr.f[0];
    if (!y || !takes(f, &n) || n.dtype != q.rope->dtype)
        return;
    a->in[0] = at;
    a->in[1] = n.in[3];
    a->in[2] = n.in[4];
    set_node(f, at, &n);
}

/* ---- the gated delta net --------------------------------------------------------------------- */

/* What makes a product's columns contiguous. */
static const struct br__node *packed(const struct fusing *f, br_val v)
{
    const struct br__node *n = node_at(f, v);
    return is_own(f, v, BR_OP_CONCAT) && n->n_in == 1 ? node_at(f, n->in[0]) : NULL;
}

struct delta_parts {
    const struct br__node *conv, *qkv, *decay, *a, *b;
    br_val y;
};

/* q, k and v of the delta rule are what the convolution made, in this order; q and k of length 1.
 */
static int find_conv(const struct fusing *f, const struct br__node *rule, struct delta_parts *p)
{
    const struct br__node *q = node_at(f, rule->in[0]), *k = node_at(f, rule->in[1]),
                          *v = node_at(f, rule->in[2]);
    if (!is_own(f, rule->in[0], BR_OP_L2NORM) || !is_own(f, rule->in[1], BR_OP_L2NORM) ||
        q->attr.f[0] != k->attr.f[0])
        return 0;
    const br_val base = v->base;
    const int64_t keys = q->shape[1] * q->shape[2], d = q->shape[2];
    p->conv = node_at(f, base);
    return p->conv->op == BR_OP_CONV1D_SILU && p->conv->n_in == 4 && f->users[base] == 3 &&
           is_columns(node_at(f, q->in[0]), p->conv, base, 0, d) &&
           is_columns(node_at(f, k->in[0]), p->conv, base, keys, d) &&
           is_columns(v, p->conv, base, 2 * keys, v->shape[2]) &&
           is_own(f, p->conv->in[0], BR_OP_CONCAT) && node_at(f, p->conv->in[0])->n_in == 3;
}

/* What enters are the columns of one product, in the order of GDN_STEP. */
static int find_product(const struct fusing *f, const struct br__node *rule, struct delta_parts *p)
{
    const struct br__node *beta = node_at(f, rule->in[4]);
    p->decay = node_at(f, rule->in[3]);
    p->qkv = node_at(f, p->conv->in[0]);
    if (!is_own(f, rule->in[3], BR_OP_GDN_DECAY) || !is_own(f, rule->in[4], BR_OP_SIGMOID) ||
        !(p->a = packed(f, p->decay->in[0])) || !(p->b = packed(f, beta->in[0])))
        return 0;
    p->y = p->a->base;
    const struct br__node *y = node_at(f, p->y), *q = node_at(f, rule->in[0]);
    const int64_t hk = q->shape[1], dk = q->shape[2], per = p->a->shape[2];
    const int64_t block = 2 * (dk + per * rule->shape[2]);
    return y->n_dim == 2 && hk * per == rule->shape[1] &&
           is_columns(node_at(f, p->qkv->in[0]), y, p->y, 0, block) &&
           is_columns(node_at(f, p->qkv->in[1]), y, p->y, dk, block) &&
           is_columns(node_at(f, p->qkv->in[2]), y, p->y, 2 * dk, block) &&
           is_columns(p->b, y, p->y, hk * block, 2 * per) &&
           is_columns(p->a, y, p->y, hk * block + per, 2 * per);
}

/* One token of each sequence. */
static void fuse_delta(const struct fusing *f, br_val v)
{
    const struct br__node *rule = node_at(f, v);
    struct delta_parts p = {0};
    if (rule->n_in != 7 || node_at(f, rule->in[5])->shape[0] != rule->shape[0] ||
        !find_conv(f, rule, &p) || p.conv->in[2] != rule->in[5] || !find_product(f, rule, &p))
        return;
    struct br__node n = {.op = BR_OP_GDN_STEP,
                         .n_in = 7,
                         .in = {p.y, p.conv->in[1], p.decay->in[1], p.decay->in[2], rule->in[5],
                                p.conv->in[3], rule->in[6]}};
    n.attr.i[0] = node_at(f, rule->in[0])->shape[1];
    n.attr.f[0] = rule->attr.f[0];
    n.attr.f[1] = node_at(f, rule->in[0])->attr.f[0];
    become(f, v, n);
}

/* ---- the walk -------------------------------------------------------------------------------- */

static void fuse_node(const struct fusing *f, br_val v)
{
    switch (node_at(f, v)->op) {
    case BR_OP_SWIGLU:
        fuse_swiglu(f, v);
        break;
    case BR_OP_ADD_ROW:
        fuse_add_row(f, v);
        break;
    case BR_OP_ADD:
        fuse_add(f, v);
        break;
    case BR_OP_ATTENTION:
        fuse_heads(f, v);
        break;
    case BR_OP_DELTA_RULE:
        fuse_delta(f, v);
        break;
    case BR_OP_MOE_SORT:
        fuse_sort(f, v);
        break;
    case BR_OP_SOFTMAX:
    case BR_OP_GATHER_COLS:
        fuse_share(f, v);
        break;
    case BR_OP_MOE_COMBINE:
        fuse_combine(f, v);
        break;
    default:
        break;
    }
}

static int has_fused(const struct br__device *d)
{
    for (uint32_t i = 0; i < d->n_kernels; i++)
        if (br__is_fused(d->kernels[i].op))
            return 1;
    return 0;
}

int br__fuse(struct br_graph *g, const br_val *outputs, size_t n_outputs, struct br_err *err)
{
    struct fusing f = {.g = g, .n = g->n};
    if (g->err.code || !g->device || !has_fused(g->device))
        return br__graph_status(g, err);
    f.users = br__calloc(g->n + 1, sizeof *f.users);
    if (!f.users)
        return br__nomem(err, "for a graph");
    count_users(&f, outputs, n_outputs);
    for (br_val v = 1; v < g->n; v++)
        if (f.users[v])
            fuse_node(&f, v);
    /* what a pattern has left behind has no users */
    memset(f.users, 0, (g->n + 1) * sizeof *f.users);
    count_users(&f, outputs, n_outputs);
    for (br_val v = 1; v < g->n; v++)
        if (f.users[v] && is_op(&f, v, BR_OP_RMSNORM))
            fuse_norm(&f, v);
    br__free(f.users);
    return 0;
}
