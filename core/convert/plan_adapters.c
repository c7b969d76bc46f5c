/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* plan_adapters.c - tensors of adapters, one per layer, as Megatron Bridge stores them: stacked,
 * with a box for each layer.
 *
 * Source: adapters-only checkpoints of Megatron Bridge 0.6.2 for models whose layers are alike. */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

/* A tensor of the source and where it goes. */
struct adapter_tensor {
    uint32_t src;
    int64_t layer;   /* -1: it is of no layer */
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

static int by_key(const void *x, const void *y)
{
    const struct adapter_tensor *a = x, *b = y;
    int c = strcmp(a->key, b->key);
    return c ? c : (a->layer > b->layer) - (a->layer < b->layer);
}

/* The output that tensors [0, n) of one key make, and its pieces. */
static int add_output(struct br__plan *p, const struct adapter_tensor *at, size_t n,
                      struct br_err *err)
{
    const struct br__tensor *first = &p->b.src->tensors[at[0].src];
    struct br__plan_out *o = &p->outs[p->n_outs];
    int stacked = at[0].layer >= 0;
    uint64_t rows = first->ndim ? (uint64_t)first->shape[0] : 1;
    uint64_t elems = first->bytes / br_dtype_size(first->dtype);
    if (first->ndim + stacked > BR_MAX_DIMS || !elems || (!stacked && n > 1))
        return br_fail(err, BR_E_PLAN, "'%s' cannot be stored: it is there twice, or too deep",
                       first->name);
    *o = (struct br__plan_out){.name = at[0].key,
                               .dtype = first->dtype,
                               .ndim = first->ndim + stacked,
                               .row_elems = elems / rows};
    o->shape[0] = (int64_t)n;
    memcpy(o->shape + stacked, first->shape, (size_t)first->ndim * sizeof *first->shape);
    for (size_t i = 0; i < n; i++) {
        const struct br__tensor *t = &p->b.src->tensors[at[i].src];
        struct br__piece *pc = &p->pieces[p->n_pieces];
        if (stacked && at[i].layer != (int64_t)i)
            return br_fail(err, BR_E_PLAN,
                           "'%s' has no counterpart in layer %zu: Megatron stacks the layers of an "
                           "adapter, so all of them need one",
                           t->name, i);
        if (t->dtype != first->dtype || t->ndim != first->ndim ||
            memcmp(t->shape, first->shape, (size_t)t->ndim * sizeof *t->shape) != 0)
            return br_fail(err, BR_E_PLAN, "'%s' and '%s' differ in shape or dtype", first->name,
                           t->name);
        *pc = (struct br__piece){
            .out = (uint32_t)p->n_outs, .bytes = t->bytes, .first_seg = p->n_segs, .n_segs = 1};
        memcpy(pc->size, o->shape, sizeof pc->size);
        if (stacked) {
            pc->off[0] = (int64_t)i;
            pc->size[0] = 1;
        }
        p->segs[p->n_segs++] = (struct br__seg){.src = at[i].src, .n = rows};
        p->n_pieces++;
        p->out_bytes += t->bytes;
    }
    p->n_outs++;
    return BR_OK;
}

static int adapters_make(struct br__plan *p, struct br_err *err)
{
    const struct br__ckpt *src = p->b.src;
    size_t n = src->n_tensors;
    struct adapter_tensor *at = br__arena_alloc(&p->arena, (n + 1) * sizeof *at);
    p->b.x = br__arena_alloc(&p->arena, sizeof *p->b.x); /* no bytes items */
    p->outs = br__arena_alloc(&p->arena, (n + 1) * sizeof *p->outs);
    p->pieces = br__calloc(n + 1, sizeof *p->pieces);
    p->segs = br__calloc(n + 1, sizeof *p->segs);
    if (!at || !p->b.x || !p->outs || !p->pieces || !p->segs)
        return br__plan_nomem(err);
    for (size_t i = 0; i < n; i++) {
        at[i].src = (uint32_t)i;
        if (split_name(&p->arena, src->tensors[i].name, &at[i]))
            return br__plan_nomem(err);
    }
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

int br__plan_adapters(struct br__plan **out, const struct br__ckpt *src, struct br_err *err)
{
    struct br__plan *p = br__calloc(1, sizeof *p);
    *out = NULL;
    if (!p)
        return br__plan_nomem(err);
    p->direction = BR__IMPORT;
    p->b.src = src;
    int rc = adapters_make(p, err);
    if (rc)
        br__plan_free(p);
    else
        *out = p;
    return rc;
}
