/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* backward.c - a rank's forward and backward pass as one graph, which is kept: gradients are values
 * of that graph, found by the index of their param. */
#include "llm.h"
#include <string.h>

/* What the walk back starts from, and what it is asked for. */
struct walk {
    struct br__pass *p;
    struct br__want *wrt; /* leaves */
    br_val *grad;         /* room for the gradient of each */
    size_t n;
    br_val passed; /* gradient that goes to the stage before, or came from the next in vain */
};

/* The params of a graph that gradients are asked for: the adapter's if there is one. */
static size_t backward_trainable(const struct br__compiled *q, struct br__want *wrt)
{
    size_t n = 0;
    const struct br__adapter *a = q->b.params->w->adapter;
    int only_adapter = a && !a->merge;
    for (br_val v = 1; v < q->g.n; v++) {
        const struct br__param *p = br__node_param(br__node(&q->g, v));
        if (p && (!only_adapter || p->adapter))
            wrt[n++].leaf = v;
    }
    return n;
}

/* Append a backward pass from `loss` (of an earlier stage: its SEND).  If this stage wants none (an
 * adapter of later layers only) the gradient sent to it must be received all the same. */
static int walk_back(struct walk *w, enum br__pass_loss root, br_val loss, struct br_err *err)
{
    struct br__compiled *q = w->p->compiled;
    size_t n = w->n;
    if (q->b.received)
        w->wrt[n++].leaf = q->b.received;
    int rc = br__grad(&q->g, &(struct br__root){.v = loss}, 1, w->wrt, n, w->grad, err);
    if (rc)
        return rc;
    const struct br__node end = *br__node(&q->g, loss);
    if (q->b.received) {
        const struct br_attr *to = &br__node(&q->g, q->b.received)->attr;
        w->passed = BR__OP(&q->g, SEND, to, w->grad[w->n]);
    } else if (!n && end.op == BR_OP_SEND) {
        w->passed = BR__OP(&q->g, RECV, &end.attr, end.in[0]);
    }
    br_val *of_param = br__arena_alloc(&q->g.arena, (w->p->n_params + 1) * sizeof *of_param);
    if (!of_param)
        return br__nomem(err, "for the gradients");
    for (size_t i = 0; i < w->n; i++)
        of_param[br__node_param(br__node(&q->g, w->wrt[i].leaf))->index] = w->grad[i];
    w->p->grad[root] = of_param;
    return 0;
}

static int add_backward(struct walk *w, unsigned roots, struct br_err *err)
{
    struct br__compiled *q = w->p->compiled;
    size_t cap = q->g.n + 1;
    w->wrt = br__arena_alloc(&q->g.arena, cap * sizeof *w->wrt);
    w->grad = br__arena_alloc(&q->g.arena, cap * sizeof *w->grad);
    if (!w->wrt || !w->grad)
        return br__nomem(err, "for the gradients");
    w->n = backward_trainable(q, w->wrt);
    int rc = 0;
    if (roots & 1u << BR__ROOT_LM)
        rc = walk_back(w, BR__ROOT_LM, q->b.loss ? q->b.loss : q->b.sent, err);
    if (!rc && roots & 1u << BR__ROOT_AUX && q->b.aux_loss) {
        br_val part = BR__OP(&q->g, SCALE, BR__F(q->b.cfg->router_aux_loss_coef), q->b.aux_loss);
        rc = walk_back(w, BR__ROOT_AUX, BR__OP(&q->g, ADD, NULL, q->b.loss, part), err);
    }
    if (!rc && roots & 1u << BR__ROOT_MTP && q->b.mtp_loss)
        rc = walk_back(w, BR__ROOT_MTP, BR__OP(&q->g, ADD, NULL, q->b.loss, q->b.mtp_loss), err);
    return rc;
}

/* All that may be read after a run, and what must be sent. */
static size_t backward_outputs(const struct br__pass *p, br_val passed, br_val *out)
{
    const struct br__build *b = &p->compiled->b;
    const br_val one[] = {b->logits,
                          b->sent,
                          b->loss,
                          passed,
                          b->mtp_logits,
                          b->mtp_loss,
                          p->shape.aux_loss ? b->aux_loss : 0};
    size_t n = 0;
    for (size_t i = 0; i < BR_COUNTOF(one); i++)
        if (one[i])
            out[n++] = one[i];
    for (int64_t i = 0; i < b->cfg->n_layers + 2 && p->shape.hidden; i++)
        if (b->hidden[i])
            out[n++] = b->hidden[i];
    for (int64_t i = 0; i < b->cfg->n_layers; i++)
        if (b->routes[i])
            out[n++] = b->routes[i];
    for (int k = 0; k < BR__N_ROOTS; k++)
        for (size_t i = 0; p->grad[k] && i < p->n_params; i++)
            if (p->grad[k][i])
                out[n++] = p->grad[k][i];
    return n;
}

static void pass_free(struct br__pass *p)
{
    if (p)
        br__compiled_free(p->compiled);
    br__free(p);
}

static int pass_make(struct br__rank *r, struct br__pass *p, struct br_err *err)
{
    struct walk w = {.p = p};
    const uint32_t grads = p->shape.roots ? BR__BUILD_GRADS : 0;
    const struct br__build b = {.flags = BR__BUILD_ALL_LOGITS | grads | p->shape.build,
                                .n_tokens = p->shape.n_tokens,
                                .n_seqs = 1,
                                .n_out = p->shape.n_tokens};
    int rc = br__compiled_make(r, &b, &p->compiled, err);
    p->n_params = r->params->n;
    if (!rc && p->shape.roots)
        rc = add_backward(&w, p->shape.roots, err);
    if (rc)
        return rc;
    br_val *keep = br__calloc((BR__N_ROOTS + 2) * p->compiled->g.n + 16, sizeof *keep);
    if (!keep)
        return br__nomem(err, "for the gradients");
    rc = br__compiled_plan(r, p->compiled, keep, backward_outputs(p, w.passed, keep), err);
    br__free(keep);
    return rc;
}

int br__pass_get(struct br__rank *r, const struct br__pass_shape *shape, struct br__pass **out,
                 struct br_err *err)
{
    *out = r->pass;
    if (r->pass && memcmp(&r->pass->shape, shape, sizeof *shape) == 0)
        return 0;
    br__pass_drop(r);
    *out = NULL;
    struct br__pass *p = br__calloc(1, sizeof *p);
    if (!p)
        return br__nomem(err, "for the gradients");
    p->shape = *shape;
    int rc = pass_make(r, p, err);
    if (rc) {
        pass_free(p);
        return rc;
    }
    *out = r->pass = p;
    return 0;
}

void br__pass_drop(struct br__rank *r)
{
    pass_free(r->pass);
    r->pass = NULL;
}
