/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* store.c - the weights that are trained: float32 in one block, their gradients in another, laid
 * out alike.
 *
 * Tensors stand in the order in which params use them, so that the experts of a layer, which are
 * tensors of their own, follow one another as one [E, rows, cols]. */
#include "trainer.h"
#include <string.h>

#define ALIGN 16 /* floats: a cache line */

int br__is_trained(const struct br__weights *w, const struct br__param *p)
{
    return !w->adapter || w->adapter->merge || p->adapter;
}

/* ---- which tensors, and where ---------------------------------------------------------------- */

struct layout {
    size_t *at;            /* [n_sources] first element */
    const char **megatron; /* [n_sources] NULL: not trained */
    uint8_t *centred;      /* [n_sources] */
    size_t n_sources;      /* of model and adapter */
};

static struct br__source *source_at(const struct br__weights *w, size_t i)
{
    return i < w->n_sources ? &w->sources[i] : &w->adapter->sources[i - w->n_sources];
}

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
        for (size_t k = 0; k < p->n_parts; k++) {
            const struct br__source *q = p->parts[k].source;
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

/* Kernels read matrices in any dtype, everything else in float32. */
static int is_wide(const struct br__store *s, const struct br__source *q)
{
    return s->half && q->ndim != 2;
}

/* What training starts from. */
static void store_fill(const struct br__store *s, const struct br__trained *t,
                       const struct br__source *q)
{
    br_cast(t->main, BR_F32, q->data, q->dtype, t->n, 0);
    for (size_t k = 0; k < t->n && t->minus_one; k++)
        t->main[k] -= 1;
    if (!s->half)
        return;
    br_cast(t->bf16, s->half, t->main, BR_F32, t->n, 0);
    br_cast(t->main, BR_F32, t->bf16, s->half, t->n, 0);
}

/* Zeros, or addresses alone. */
static void *store_block(const struct br__store *s, size_t n)
{
    return s->device ? br__device_alloc(s->device, n) : br__reserve(n);
}

static void block_free(const struct br__store *s, void *p, size_t n)
{
    if (s->device)
        br__device_free(s->device, p);
    else
        br__unreserve(p, n);
}

#define MAIN_BYTES(s) (((s)->elems + ALIGN) * sizeof(float))
#define HALF_BYTES(s) (((s)->elems + 2 * ALIGN) * sizeof(uint16_t))

/* The main weight takes the source's place: memory that loading made is not needed beside it. */
static void store_take(struct br__store *s, struct br__weights *w, struct br__source *q,
                       const struct layout *l, size_t i)
{
    struct br__trained *t = &s->list[i];
    size_t at = l->at[q->index];
    *t = (struct br__trained){.name = q->name,
                              .megatron = l->megatron[q->index],
                              .ndim = q->ndim,
                              .n = (size_t)(q->rows * q->cols),
                              .minus_one = l->centred[q->index],
                              .main = s->main + at,
                              .bf16 = s->bf16 ? s->bf16 + at : NULL,
                              .grad = s->grad + at};
    memcpy(t->shape, q->shape, sizeof t->shape);
    if (s->device)
        store_fill(s, t, q);
    br__weights_unload(w, q);
    s->frozen[i] = (struct br__frozen){.source = q, .dtype = q->dtype, .data = q->data};
    s->of_source[q->index] = (uint32_t)i;
    q->dtype = BR_F32;
    q->data = t->main;
    q->minus_one = t->minus_one;
    q->is_trained = 1;
    if (!s->half)
        return;
    if (is_wide(s, q)) {
        q->data = s->frozen[i].wide = s->wide + s->n_wide;
        if (s->device)
            br_cast(s->frozen[i].wide, BR_F32, t->bf16, s->half, t->n, 0);
        s->n_wide += (t->n + ALIGN - 1) / ALIGN * ALIGN;
    } else {
        q->dtype = s->half;
        q->data = t->bf16;
    }
}

/* Room for the copies that are rounded. */
static int make_copies(struct br__store *s, const struct br__weights *w, const struct layout *l)
{
    s->bf16 = store_block(s, HALF_BYTES(s));
    size_t n = ALIGN;
    for (size_t i = 0; s->bf16 && i < l->n_sources; i++) {
        const struct br__source *q = source_at(w, i);
        if (l->megatron[i] && is_wide(s, q))
            n += (size_t)(q->rows * q->cols) + ALIGN;
    }
    s->wide = br__calloc(n, sizeof *s->wide);
    return s->bf16 && s->wide ? 0 : BR_E_NOMEM;
}

static int store_make(struct br__store *s, struct br__weights *w, const struct br__params *params,
                      struct br_err *err)
{
    size_t n = w->n_sources + (w->adapter ? w->adapter->n_sources : 0), at = 0;
    struct layout l = {.n_sources = n};
    l.at = br__arena_alloc(&s->arena, (n + 1) * sizeof *l.at);
    l.megatron = br__arena_alloc(&s->arena, (n + 1) * sizeof *l.megatron);
    s->of_source = br__arena_alloc(&s->arena, (n + 1) * sizeof *s->of_source);
    l.centred = br__arena_alloc(&s->arena, n + 1);
    if (!l.at || !l.megatron || !l.centred || !s->of_source)
        return br__nomem(err, "for the weights that are trained");
    if (lay_out(s, params, &l))
        return br__nomem(err, "for the weights that are trained");
    s->list = br__arena_alloc(&s->arena, (s->n + 1) * sizeof *s->list);
    s->frozen = br__arena_alloc(&s->arena, (s->n + 1) * sizeof *s->frozen);
    s->main = store_block(s, MAIN_BYTES(s));
    s->grad = store_block(s, MAIN_BYTES(s));
    if (!s->list || !s->frozen || !s->main || !s->grad || (s->half && make_copies(s, w, &l)))
        return br__nomem(err, "for the weights that are trained");
    for (size_t i = 0; i < n; i++)
        if (l.megatron[i])
            store_take(s, w, source_at(w, i), &l, at++);
    return 0;
}

int br__store_open(struct br__store *s, struct br__rank *r, struct br__device *host, int values,
                   struct br_err *err)
{
    struct br__weights *w = r->m->weights;
    memset(s, 0, sizeof *s);
    s->threads = w->threads;
    s->device = w->unread ? NULL : host;
    s->half = values == BR_BF16 || values == BR_F16 ? values : 0;
    int rc = store_make(s, w, r->params, err);
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
        s->frozen[i].source->is_trained = 0;
    }
    block_free(s, s->bf16, HALF_BYTES(s));
    block_free(s, s->main, MAIN_BYTES(s));
    block_free(s, s->grad, MAIN_BYTES(s));
    br__free(s->wide);
    br__arena_free(&s->arena);
    memset(s, 0, sizeof *s);
}

static int round_tensor(void *arg, size_t i, int worker, struct br_err *err)
{
    const struct br__store *s = arg;
    const struct br__trained *t = &s->list[i];
    (void)worker;
    (void)err;
    br_cast(t->bf16, s->half, t->main, BR_F32, t->n, 0);
    return 0;
}

int br__store_round(struct br__store *s, int rounded, struct br_err *err)
{
    int rc = 0;
    if (s->half && !rounded)
        rc = br__pool_run(s->threads, s->n, round_tensor, s, err);
    for (size_t i = 0; i < s->n && !rc; i++)
        if (s->frozen[i].wide)
            br_cast(s->frozen[i].wide, BR_F32, s->list[i].bf16, s->half, s->list[i].n, 0);
    return rc;
}

#define ZERO_CHUNK ((size_t)1 << 20) /* elements */

static int zero_chunk(void *arg, size_t i, int worker, struct br_err *err)
{
    const struct br__store *s = arg;
    size_t at = i * ZERO_CHUNK;
    (void)worker;
    (void)err;
    memset(s->grad + at, 0, BR__MIN(ZERO_CHUNK, s->elems - at) * sizeof *s->grad);
    return 0;
}

int br__store_zero_grads(struct br__store *s, struct br_err *err)
{
    size_t n = (s->elems + ZERO_CHUNK - 1) / ZERO_CHUNK;
    return br__pool_run(s->threads, n, zero_chunk, s, err);
}

static int round_grad(void *arg, size_t i, int worker, struct br_err *err)
{
    uint16_t half[1024];
    const struct br__store *s = arg;
    const struct br__trained *t = &s->list[i];
    (void)worker;
    (void)err;
    for (size_t k = 0; k < t->n; k += BR_COUNTOF(half)) {
        size_t n = BR__MIN(t->n - k, BR_COUNTOF(half));
        br_cast(half, BR_BF16, t->grad + k, BR_F32, n, 0);
        br_cast(t->grad + k, BR_F32, half, BR_BF16, n, 0);
    }
    return 0;
}

int br__store_round_grads(struct br__store *s, struct br_err *err)
{
    return br__pool_run(s->threads, s->n, round_grad, s, err);
}

float *br__store_grad(const struct br__store *s, const struct br__part *q)
{
    return s->list[s->of_source[q->source->index]].grad + q->row * q->source->cols + q->col;
}
