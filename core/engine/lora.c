/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* lora.c - a new adapter on Megatron's linears, to be trained.
 *
 * Megatron fuses q, k, v and gate, up, so an adapter has one A for all of them, and a B whose rows
 * stand in the order of the fused weight.  A pair of each Hugging Face weight shares them: its rows
 * of B are those that the weight rules move there.  The routed experts of a layer have one adapter
 * together; its pairs are found by Megatron's name and an item, as their weights are.
 * Source: megatron.bridge.peft, lora.py, dora.py, module_matcher.py. */
#include "weights.h"
#include <math.h>
#include <stdlib.h>

struct maker {
    struct br__adapter *a;
    struct br__weights *w;
    const struct br__lora_opts *o;
    struct br__expansion *x;
    size_t cap_pairs;
    struct br_err *err;
};

/* ---- which modules --------------------------------------------------------------------------- */

/* A star stands for any characters. */
static int lora_fits(const char *pattern, const char *name)
{
    const char *star = NULL, *from = name;
    while (*name) {
        if (*pattern == '*') {
            star = ++pattern;
            from = name;
        } else if (*pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star;
            name = ++from;
        } else {
            return 0;
        }
    }
    return pattern[strspn(pattern, "*")] == '\0';
}

static int lora_listed(const char *const *list, size_t n, const char *module)
{
    const char *last = strrchr(module, '.');
    last = last ? last + 1 : module;
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], last) == 0 || lora_fits(list[i], module))
            return 1;
    return 0;
}

const char *br__lora_module(struct br__arena *a, const char *key)
{
    const char *rest = strstr(key, ".experts.experts.");
    size_t head = rest ? (size_t)(rest - key) : 0;
    rest = rest ? rest + strlen(".experts") : key;
    return br__arena_printf(a, "%.*s%.*s", (int)head, key, (int)(strlen(rest) - strlen(".weight")),
                            rest);
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* A new tensor of the adapter, zeros; cols 0: a vector. */
static struct br__source *lora_tensor(struct maker *mk, const char *module, const char *what,
                                      int64_t rows, int64_t cols)
{
    struct br__source *s = &mk->a->sources[mk->a->n_sources];
    const int64_t shape[2] = {rows, cols};
    void *data = br__arena_alloc(&mk->a->arena, (size_t)rows * (cols ? (size_t)cols : 1) * 4);
    *s = (struct br__source){.name = br__arena_printf(&mk->a->arena, "%s.adapter.%s", module, what),
                             .dtype = BR_F32,
                             .data = data};
    br__source_shape(s, cols ? 2 : 1, shape);
    if (!data || !s->name)
        return NULL;
    mk->a->n_sources++;
    return s;
}

static int fill_magnitudes(const struct maker *mk, struct br__adapter_pair *p,
                           struct br__source *weight)
{
    int rc = br__weights_load(mk->w, weight, mk->err);
    float *row = rc ? NULL : br__alloc((size_t)weight->cols * sizeof *row);
    size_t size = br_dtype_size(weight->dtype);
    int64_t r = 0;
    if (!rc && !row)
        rc = br__nomem(mk->err, "for a new adapter");
    for (size_t i = 0; i < p->n_rows && !rc; i++)
        for (int64_t k = 0; k < p->m_rows[i].n_cols; k++, r++) {
            const char *at = (const char *)weight->data + (size_t)(r * weight->cols) * size;
            double sum = 0;
            br_cast(row, BR_F32, at, weight->dtype, (size_t)weight->cols, 0);
            for (int64_t c = 0; c < weight->cols; c++)
                sum += (double)row[c] * row[c];
            ((float *)(uintptr_t)p->magnitude->data)[p->m_rows[i].col + k] = (float)sqrt(sum);
        }
    br__free(row);
    return rc;
}

/* ---- pairs ----------------------------------------------------------------------------------- */

static int by_hf_row(const void *a, const void *b)
{
    const struct br__move *x = a, *y = b;
    return x->hf_row < y->hf_row ? -1 : x->hf_row > y->hf_row;
}

/* The moves of one Hugging Face tensor, in its own order, as rows of B and of the magnitude. */
static int take_rows(struct maker *mk, struct br__adapter_pair *p, const struct br__move *moves,
                     size_t n)
{
    struct br__part *b = br__arena_alloc(&mk->a->arena, n * sizeof *b);
    struct br__part *m = br__arena_alloc(&mk->a->arena, n * sizeof *m);
    if (!b || !m)
        return br__nomem(mk->err, "for a new adapter");
    for (size_t i = 0; i < n; i++) {
        int64_t row = (int64_t)moves[i].mc_row, k = (int64_t)moves[i].n;
        b[i] = (struct br__part){p->b, row, k, 0, p->b->cols};
        m[i] = (struct br__part){p->magnitude, 0, 1, row, k};
    }
    p->b_rows = b;
    p->m_rows = m;
    p->n_rows = n;
    return 0;
}

static int put_pair(struct maker *mk, const struct br__adapter_pair *like, const char *target,
                    const struct br__move *moves, size_t n)
{
    struct br__adapter *a = mk->a;
    if (!target || br__grow(&a->pairs, &mk->cap_pairs, a->n_pairs, sizeof *a->pairs))
        return br__nomem(mk->err, "for a new adapter");
    struct br__adapter_pair *p = &a->pairs[a->n_pairs];
    *p = *like;
    p->target = target;
    p->index = (uint32_t)a->n_pairs;
    if (br__map_put(&a->by_target, p->target, p->index))
        return br__nomem(mk->err, "for a new adapter");
    a->n_pairs++;
    return take_rows(mk, p, moves, n);
}

/* The pair of one of the Hugging Face tensors that a Megatron tensor is made of. */
static int add_pair(struct maker *mk, const struct br__adapter_pair *like, const struct br__view *v,
                    uint32_t hf, int item)
{
    struct br__adapter *a = mk->a;
    const struct br__move *all = mk->x->moves + v->first_move;
    struct br__move *moves = br__arena_alloc(&a->arena, v->n_moves * sizeof *moves);
    size_t n = 0;
    if (!moves)
        return br__nomem(mk->err, "for a new adapter");
    for (size_t i = 0; i < v->n_moves; i++)
        if (all[i].hf == hf)
            moves[n++] = all[i];
    qsort(moves, n, sizeof *moves, by_hf_row);
    if (mk->x->mc[v->mc].lead)
        return put_pair(mk, like, br__arena_printf(&a->arena, "%s|%d", mk->x->mc[v->mc].name, item),
                        moves, n);
    struct br__source *weight = br__weights_find(mk->w, mk->x->hf[hf].name);
    if (!weight)
        return br_fail(mk->err, BR_E_PLAN, "an adapter is wanted of '%s', which the model has not",
                       mk->x->hf[hf].name);
    int rc = put_pair(mk, like, weight->name, moves, n);
    if (rc || !like->magnitude || mk->w->unread)
        return rc;
    return fill_magnitudes(mk, &a->pairs[a->n_pairs - 1], weight);
}

/* Megatron Bridge's DoRA reads a linear's one weight, which neither of these has for it. */
static int lora_check(const struct maker *mk, const struct br__slot *mc, const char *module)
{
    const char *what = mc->lead                      ? "routed experts"
                       : br__ends(module, ".router") ? "a router"
                                                     : NULL;
    if (mk->o->dora && what)
        return br_fail(mk->err, BR_E_UNSUPPORTED,
                       "'%s': there is no DoRA of %s, in Megatron Bridge neither; use --peft lora, "
                       "or name the other target modules with wildcards",
                       module, what);
    if (mc->ndim - mc->lead != 2)
        return br_fail(mk->err, BR_E_UNSUPPORTED,
                       "'%s' cannot have an adapter: only linears can; leave it out of the target "
                       "modules",
                       module);
    return BR_OK;
}

/* The adapter of a Megatron tensor: of its first view, if it is one of experts, which are alike. */
static int lora_adapt(struct maker *mk, const struct br__view *v, const char *module)
{
    const struct br__slot *mc = &mk->x->mc[v->mc];
    const struct br__move *moves = mk->x->moves + v->first_move;
    int64_t rows = mc->shape[mc->lead], cols = mc->shape[mc->lead + 1];
    int rc = lora_check(mk, mc, module), item = 0;
    if (rc)
        return rc;
    struct br__adapter_pair like = {
        .a = lora_tensor(mk, module, "linear_in.weight", mk->o->dim, cols),
        .b = lora_tensor(mk, module, "linear_out.weight", rows, mk->o->dim),
        .scaling = (float)(mk->o->alpha / (double)mk->o->dim)};
    like.magnitude = mk->o->dora ? lora_tensor(mk, module, "weight_magnitude", rows, 0) : NULL;
    if (!like.a || !like.b || (mk->o->dora && !like.magnitude))
        return br__nomem(mk->err, "for a new adapter");
    for (uint32_t i = 0; i < v->n_moves && !rc; i++) {
        int again = 0;
        for (uint32_t k = 0; k < i; k++)
            again |= moves[k].hf == moves[i].hf;
        if (!again)
            rc = add_pair(mk, &like, v, moves[i].hf, item++);
    }
    return rc;
}

static int lora_make(struct maker *mk)
{
    const struct br__expand_opts expand = {.per_layer = 1, .untied = mk->w->src->untied};
    struct br__arena *a = &mk->a->arena;
    int rc = br__rules_expand(a, mk->w->cfg, &expand, &mk->x, mk->err);
    if (rc)
        return rc;
    mk->a->sources = br__arena_alloc(a, (3 * mk->x->n_views + 1) * sizeof *mk->a->sources);
    if (!mk->a->sources || br__map_init(&mk->a->by_target, 64))
        return br__nomem(mk->err, "for a new adapter");
    for (size_t i = 0; i < mk->x->n_views && !rc; i++) {
        const struct br__view *v = &mk->x->views[i];
        const char *name = mk->x->mc[v->mc].name;
        if (!br__ends(name, ".weight") || v->row) /* the first expert stands for all */
            continue;
        const char *module = br__lora_module(a, name);
        if (!module)
            return br__nomem(mk->err, "for a new adapter");
        if (lora_listed(mk->o->targets, mk->o->n_targets, module) &&
            !lora_listed(mk->o->excluded, mk->o->n_excluded, module))
            rc = lora_adapt(mk, v, module);
    }
    if (!rc && !mk->a->n_pairs)
        rc = br_fail(mk->err, BR_E_USAGE, "the model has none of the target modules");
    return rc;
}

int br__lora_make(struct br__adapter **out, struct br__weights *w, const struct br__lora_opts *o,
                  struct br_err *err)
{
    *out = NULL;
    if (o->dim < 1 || o->dim > 65536 || !isfinite(o->alpha))
        return br_fail(err, BR_E_USAGE, "an adapter of dim %lld and alpha %g; expected 1 to 65536",
                       (long long)o->dim, o->alpha);
    struct maker mk = {.a = br__calloc(1, sizeof *mk.a), .w = w, .o = o, .err = err};
    if (!mk.a)
        return br__nomem(mk.err, "for a new adapter");
    mk.a->bias_inside = o->bias_inside;
    int rc = lora_make(&mk);
    if (rc)
        br__adapter_close(mk.a);
    else
        *out = mk.a;
    return rc;
}
