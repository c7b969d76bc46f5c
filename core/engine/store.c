/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* store.c - the weights that are trained: float32 in one block, their gradients in another, laid
 * out alike.
 *
 * Tensors stand in the order in which params use them, so that the experts of a layer, which are
 * tensors of their own, follow one another as one [E, rows, cols]. */
#include "trainer.h"
#include <string.h>

#define ALIGN 16 /* floats: a cache line */

static int nomem(struct br_err *err)
{
    return br_fail(err, BR_E_NOMEM, "out of memory for the weights that are trained");
}

int br__is_trained(const struct br__weights *w, const struct br__param *p)
{
    return !w->adapter || w->adapter->merge || p->adapter;
}

/* ---- which tensors, and where ---------------------------------------------------------------- */

struct layout {
    size_t *at;            /* [n_sources] first element */
    const char **megatron; /* [n_sources] NULL: not trained */
    uint8_t *centred;      /* [n_sources] */
};

/* The part of a param's key before its item: a Megatron name. */
static const char *megatron_name(struct br__arena *a, const struct br__param *p)
{
    return br__arena_printf(a, "%.*s", (int)strcspn(p->key, "|"), p->key);
}

static int lay_out(struct br__store *s, const struct br__params *params, struct layout *l)
{
    for (size_t i = 0; i < params->n; i++) {
        const struct br__param *p = params->list[i];
        if (!br__is_trained(params->w, p))
            continue;
        const char *name = megatron_name(&s->arena, p);
        if (!name)
            return BR_E_NOMEM;
        s->elems = (s->elems + ALIGN - 1) / ALIGN * ALIGN;
        for (size_t k = 0; k < p->n_pieces; k++) {
            const struct br__source *q = p->pieces[k].source;
            if (l->megatron[q->index])
                continue;
            l->megatron[q->index] = name;
            l->at[q->index] = s->elems;
            l->centred[q->index] = p->centred != 0;
            s->elems += (size_t)(q->rows * q->cols);
            s->n++;
        }
    }
    return 0;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static void take(struct br__store *s, struct br__source *q, const struct layout *l, size_t i)
{
    struct br__trained *t = &s->list[i];
    size_t at = l->at[q->index];
    *t = (struct br__trained){.name = q->name,
                              .megatron = l->megatron[q->index],
                              .ndim = q->ndim,
                              .n = (size_t)(q->rows * q->cols),
                              .minus_one = l->centred[q->index],
                              .main = s->main + at,
                              .grad = s->grad + at};
    memcpy(t->shape, q->shape, sizeof t->shape);
    br_cast(t->main, BR_F32, q->data, q->dtype, t->n, 0);
    for (size_t k = 0; k < t->n && t->minus_one; k++)
        t->main[k] -= 1;
    s->frozen[i] = (struct br__frozen){q, q->dtype, q->data};
    s->of_source[q->index] = (uint32_t)i;
    q->dtype = BR_F32;
    q->data = t->main;
    q->minus_one = t->minus_one;
}

static int make(struct br__store *s, struct br__weights *w, const struct br__params *params,
                struct br_err *err)
{
    size_t n = w->n_sources + (w->adapter ? w->adapter->n_sources : 0), at = 0;
    struct layout l = {.at = br__arena_alloc(&s->arena, (n + 1) * sizeof *l.at)};
    l.megatron = br__arena_alloc(&s->arena, (n + 1) * sizeof *l.megatron);
    s->of_source = br__arena_alloc(&s->arena, (n + 1) * sizeof *s->of_source);
    l.centred = br__arena_alloc(&s->arena, n + 1);
    if (!l.at || !l.megatron || !l.centred || !s->of_source)
        return nomem(err);
    if (lay_out(s, params, &l))
        return nomem(err);
    s->list = br__arena_alloc(&s->arena, (s->n + 1) * sizeof *s->list);
    s->frozen = br__arena_alloc(&s->arena, (s->n + 1) * sizeof *s->frozen);
    s->main = br__calloc(s->elems + ALIGN, sizeof *s->main);
    s->grad = br__calloc(s->elems + ALIGN, sizeof *s->grad);
    if (!s->list || !s->frozen || !s->main || !s->grad)
        return nomem(err);
    for (size_t i = 0; i < n; i++)
        if (l.megatron[i])
            take(s, i < w->n_sources ? &w->sources[i] : &w->adapter->sources[i - w->n_sources], &l,
                 at++);
    return 0;
}

int br__store_open(struct br__store *s, struct br__weights *w, const struct br__params *params,
                   struct br_err *err)
{
    memset(s, 0, sizeof *s);
    int rc = make(s, w, params, err);
    if (rc)
        br__store_close(s);
    return rc;
}

void br__store_close(struct br__store *s)
{
    for (size_t i = 0; i < s->n && s->frozen; i++) {
        s->frozen[i].source->dtype = s->frozen[i].dtype;
        s->frozen[i].source->data = s->frozen[i].data;
        s->frozen[i].source->minus_one = 0;
    }
    br__free(s->main);
    br__free(s->grad);
    br__arena_free(&s->arena);
    memset(s, 0, sizeof *s);
}

float *br__store_grad(const struct br__store *s, const struct br__part *q)
{
    return s->list[s->of_source[q->source->index]].grad + q->row * q->source->cols + q->col;
}
