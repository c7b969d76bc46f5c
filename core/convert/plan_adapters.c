/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* plan_adapters.c - tensors of adapters, one per layer, as Megatron Bridge stores them: stacked,
 * with a box for each layer.
 *
 * Source: adapters-only checkpoints of Megatron Bridge 0.6.2 for models whose layers are alike. */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#define EXPERTS ".mlp.experts."

/* A tensor of the source and where it goes. */
struct adapter_tensor {
    uint32_t src;
    int64_t layer;   /* -1: it is of no layer */
    int64_t experts; /* size of that axis; 0: there is none */
    const char *key; /* without the layer's number */
};

/* "decoder.layers.3.mlp" is layer 3 of "decoder.layers.mlp". */
static int split_name(struct br__arena *a, const char *name, struct adapter_tensor *out)
{
    const char *at = strstr(name, ".layers."), *end;
    out->layer = -1;
    out->key = name;
    if (!at)
        return BR_OK;
    at += strlen(".layers.");
    size_t digits = strspn(at, "0123456789");
    end = at + digits;
    const char *number = br__arena_strndup(a, at, digits);
    if (!number)
        return BR_E_NOMEM;
    if (*end != '.' || br__parse_i64(number, &out->layer))
        return BR_OK;
    out->key = br__arena_printf(a, "%.*s%s", (int)(at - name), name, end + 1);
    return out->key ? BR_OK : BR_E_NOMEM;
}

/* Checkpoints name the module of the experts once more. */
static int name_experts(struct br__arena *a, int64_t n_experts, struct adapter_tensor *t)
{
    const char *at = strstr(t->key, EXPERTS);
    if (!at)
        return BR_OK;
    at += strlen(EXPERTS);
    t->experts = n_experts;
    t->key = br__arena_printf(a, "%.*sexperts.%s", (int)(at - t->key), t->key, at);
    return t->key ? BR_OK : BR_E_NOMEM;
}

static int by_key(const void *x, const void *y)
{
    const struct adapter_tensor *a = x, *b = y;
    int c = strcmp(a->key, b->key);
    return c ? c : (a->layer > b->layer) - (a->layer < b->layer);
}

/* The axes before the matrix: layer, expert. */
static int add_shape(struct br__plan_out *o, const struct adapter_tensor *at, size_t n,
                     const struct br__tensor *first, struct br_err *err)
{
    int stacked = at->layer >= 0, repeated = at->experts && first->ndim == 2;
    int lead = stacked + repeated;
    if (first->ndim + lead > BR_MAX_DIMS || first->ndim < 1 || (!stacked && n > 1))
        return br_fail(err, BR_E_PLAN, "'%s' cannot be stored: it is there twice, or too deep",
                       first->name);
    if (at->experts && !repeated && (first->ndim != 3 || first->shape[0] != at->experts))
        return br_fail(err, BR_E_PLAN, "'%s' is not for %lld experts", first->name,
                       (long long)at->experts);
    o->ndim = first->ndim + lead;
    o->shape[0] = (int64_t)n;
    if (repeated)
        o->shape[stacked] = at->experts;
    memcpy(o->shape + lead, first->shape, (size_t)first->ndim * sizeof *first->shape);
    return BR_OK;
}

/* The pieces of one tensor of the source: a box for each expert. */
static void add_pieces(struct br__plan *p, const struct adapter_tensor *at)
{
    const struct br__tensor *t = &p->b.src->tensors[at->src];
    const struct br__plan_out *o = &p->outs[p->n_outs];
    int stacked = at->layer >= 0, repeated = at->experts && t->ndim == 2;
    int64_t n = at->experts ? at->experts : 1;
    uint64_t rows = o->ndim > 1 + stacked ? (uint64_t)o->shape[o->ndim - 2] : (uint64_t)t->shape[0];
    for (int64_t e = 0; e < n; e++) {
        struct br__piece *pc = &p->pieces[p->n_pieces++];
        *pc = (struct br__piece){.out = (uint32_t)p->n_outs,
                                 .bytes = t->bytes / (repeated ? 1 : (uint64_t)n),
                                 .first_seg = p->n_segs,
                                 .n_segs = 1,
                                 .repeats = repeated && e > 0};
        memcpy(pc->size, o->shape, sizeof pc->size);
        if (stacked) {
            pc->off[0] = at->layer;
            pc->size[0] = 1;
        }
        if (at->experts) {
            pc->off[stacked] = e;
            pc->size[stacked] = 1;
        }
        p->segs[p->n_segs++] = (struct br__seg){
            .src = at->src, .src_row = repeated ? 0 : (uint64_t)e * rows, .n = rows};
        p->out_bytes += pc->bytes;
    }
}

/* The output that tensors [0, n) of one key make, and its pieces. */
static int add_output(struct br__plan *p, const struct adapter_tensor *at, size_t n,
                      struct br_err *err)
{
    const struct br__tensor *first = &p->b.src->tensors[at[0].src];
    struct br__plan_out *o = &p->outs[p->n_outs];
    *o = (struct br__plan_out){.name = at[0].key,
                               .dtype = first->dtype,
                               .row_elems =
                                   first->ndim > 1 ? (uint64_t)first->shape[first->ndim - 1] : 1};
    int rc = add_shape(o, at, n, first, err);
    for (size_t i = 0; i < n && !rc; i++) {
        const struct br__tensor *t = &p->b.src->tensors[at[i].src];
        if (at[i].layer >= 0 && at[i].layer != (int64_t)i)
            return br_fail(err, BR_E_PLAN,
                           "'%s' has no counterpart in layer %zu: Megatron stacks the layers of an "
                           "adapter, so all of them need one",
                           t->name, i);
        if (t->dtype != first->dtype || t->ndim != first->ndim ||
            memcmp(t->shape, first->shape, (size_t)t->ndim * sizeof *t->shape) != 0)
            return br_fail(err, BR_E_PLAN, "'%s' and '%s' differ in shape or dtype", first->name,
                           t->name);
        add_pieces(p, &at[i]);
    }
    p->n_outs++;
    return rc;
}

static int adapters_make(struct br__plan *p, int64_t n_experts, struct br_err *err)
{
    const struct br__ckpt *src = p->b.src;
    size_t n = src->n_tensors, room = 1;
    struct adapter_tensor *at = br__arena_alloc(&p->arena, (n + 1) * sizeof *at);
    p->b.x = br__arena_alloc(&p->arena, sizeof *p->b.x); /* no bytes items */
    p->outs = br__arena_alloc(&p->arena, (n + 1) * sizeof *p->outs);
    if (!at || !p->b.x || !p->outs)
        return br__plan_nomem(err);
    for (size_t i = 0; i < n; i++) {
        at[i] = (struct adapter_tensor){.src = (uint32_t)i};
        if (split_name(&p->arena, src->tensors[i].name, &at[i]) ||
            name_experts(&p->arena, n_experts, &at[i]))
            return br__plan_nomem(err);
        room += at[i].experts ? (size_t)at[i].experts : 1;
    }
    p->pieces = br__calloc(room, sizeof *p->pieces);
    p->segs = br__calloc(room, sizeof *p->segs);
    if (!p->pieces || !p->segs)
        return br__plan_nomem(err);
    qsort(at, n, sizeof *at, by_key);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && !strcmp(at[end].key, at[i].key);)
            end++;
        int rc = add_output(p, at + i, end - i, err);
        if (rc)
            return rc;
    }
    return BR_OK;
}

int br__plan_adapters(struct br__plan **out, const struct br__ckpt *src, int64_t n_experts,
                      struct br_err *err)
{
    struct br__plan *p = br__calloc(1, sizeof *p);
    *out = NULL;
    if (!p)
        return br__plan_nomem(err);
    p->direction = BR__IMPORT;
    p->b.src = src;
    int rc = adapters_make(p, n_experts, err);
    if (rc)
        br__plan_free(p);
    else
        *out = p;
    return rc;
}
