/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* store.c - the weights that are trained: float32 in one block, their gradients in another, laid
 * out alike.
 *
 * Tensors stand in the order in which params use them, so that the experts of a layer, which are
 * tensors of their own, follow one another as one [E, rows, cols]. */
#include "trainer.h"
#include <stdlib.h>
#include <string.h>

#define ALIGN 16 /* floats: a cache line */

int br__is_trained(const struct br__weights *w, const struct br__param *p)
{
    return !w->adapter || w->adapter->merge || p->adapter;
}

/* ---- which tensors, and where ---------------------------------------------------------------- */

/* What the params of a rank use of a source. */
struct use {
    const struct br__param *param; /* the first; NULL: none does */
    struct br__rows *rows;         /* [n_rows] ascending, apart from each other */
    size_t n_rows, at;             /* at: first element in the store */
    int64_t col, n_cols;
    int placed, partial;
};
struct layout {
    struct use *uses; /* [n_sources] */
    size_t n_sources; /* of model and adapter */
};

static struct br__source *source_at(const struct br__weights *w, size_t i)
{
    return i < w->n_sources ? &w->sources[i] : &w->adapter->sources[i - w->n_sources];
}

static int by_row(const void *a, const void *b)
{
    const struct br__rows *x = a, *y = b;
    return (x->row > y->row) - (x->row < y->row);
}

/* Rows that follow one another become one run. */
static void join_rows(struct use *u)
{
    size_t n = 0;
    qsort(u->rows, u->n_rows, sizeof *u->rows, by_row);
    for (size_t i = 0; i < u->n_rows; i++) {
        struct br__rows *last = n ? &u->rows[n - 1] : NULL;
        if (last && u->rows[i].row <= last->row + last->n)
            last->n = BR__MAX(last->n, u->rows[i].row + u->rows[i].n - last->row);
        else
            u->rows[n++] = u->rows[i];
    }
    u->n_rows = n;
    for (size_t i = 0, at = 0; i < n; at += (size_t)(u->rows[i++].n * u->n_cols))
        u->rows[i].at = at;
}

static size_t used_elems(const struct use *u)
{
    const struct br__rows *last = &u->rows[u->n_rows - 1];
    return last->at + (size_t)(last->n * u->n_cols);
}

/* Part q of p is used: noted where there is room, counted before. */
static void use_part(struct use *u, const struct br__param *p, const struct br__part *q)
{
    int is_vector = q->source->ndim == 1;
    if (u->rows)
        u->rows[u->n_rows] = is_vector ? (struct br__rows){q->col, q->n_cols, 0}
                                       : (struct br__rows){q->row, q->n_rows, 0};
    u->n_rows++;
    u->col = is_vector ? 0 : q->col;
    u->n_cols = is_vector ? 1 : q->n_cols;
    u->param = u->param ? u->param : p;
    u->partial |= p->partial;
}

static void use_all(struct layout *l, const struct br__params *params)
{
    for (size_t i = 0; i < params->n; i++) {
        const struct br__param *p = params->list[i];
        for (size_t k = 0; k < p->n_parts && br__is_trained(params->w, p); k++)
            use_part(&l->uses[p->parts[k].source->index], p, &p->parts[k]);
    }
}

/* Which rows and columns of each source are used. */
static int find_uses(struct br__arena *a, const struct br__params *params, struct layout *l)
{
    use_all(l, params);
    for (size_t i = 0; i < l->n_sources; i++) {
        struct use *u = &l->uses[i];
        u->rows = u->param ? br__arena_alloc(a, u->n_rows * sizeof *u->rows) : NULL;
        if (u->param && !u->rows)
            return BR_E_NOMEM;
        u->n_rows = 0;
    }
    use_all(l, params);
    for (size_t i = 0; i < l->n_sources; i++)
        if (l->uses[i].param)
            join_rows(&l->uses[i]);
    return 0;
}

/* A bank ends behind element `first`, padded to parts of a whole number of cache lines. */
static void end_bank(struct br__store *s, size_t *first, int expert, uint32_t n_ranks)
{
    size_t unit = (size_t)ALIGN * n_ranks;
    s->elems = *first + (s->elems - *first + unit - 1) / unit * unit;
    if (s->elems > *first)
        s->banks[s->n_banks++] =
            (struct br__trained_bank){.expert = expert, .n = s->elems - *first};
    *first = s->elems;
}

/* Banks: tensors of the dense grid, or of the expert grid, one after another, of `bucket` elements
 * and what the last one of them is more (0: one bank).  n_ranks can have equal parts of each. */
static void lay_out_banks(struct br__store *s, const struct br__params *params, struct layout *l,
                          int expert, uint32_t n_ranks, size_t bucket)
{
    size_t first = s->elems;
    for (size_t i = 0; i < params->n; i++) {
        const struct br__param *p = params->list[i];
        if (!br__is_trained(params->w, p) || (p->expert != 0) != expert)
            continue;
        s->elems = (s->elems + ALIGN - 1) / ALIGN * ALIGN;
        for (size_t k = 0; k < p->n_parts; k++) {
            struct use *u = &l->uses[p->parts[k].source->index];
            if (u->placed)
                continue;
            u->placed = 1;
            u->at = s->elems;
            s->elems += used_elems(u);
            s->n++;
        }
        if (bucket && s->elems - first >= bucket)
            end_bank(s, &first, expert, n_ranks);
    }
    end_bank(s, &first, expert, n_ranks);
}

static int lay_out(struct br__store *s, const struct br__params *params, struct layout *l,
                   const struct br_topo *t, size_t bucket)
{
    s->banks = br__arena_alloc(&s->arena, (params->n + 2) * sizeof *s->banks);
    if (!s->banks || find_uses(&s->arena, params, l))
        return BR_E_NOMEM;
    lay_out_banks(s, params, l, 0, t->size[BR_AXIS_DP] * t->size[BR_AXIS_CP], bucket);
    lay_out_banks(s, params, l, 1, t->size[BR_AXIS_EDP], bucket);
    return 0;
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* Kernels read matrices in any dtype, everything else in float32. */
static int is_wide(const struct br__store *s, const struct br__source *q)
{
    return s->half && q->ndim != 2;
}

/* What training starts from.  Without main weights the gradients' memory holds them until they are
 * rounded. */
static void store_fill(const struct br__store *s, const struct br__trained *t,
                       const struct br__source *q)
{
    const unsigned char *data = q->data;
    size_t size = br_dtype_size(q->dtype), cols = (size_t)t->n_cols;
    size_t all = q->ndim == 1 ? 1 : (size_t)q->cols;
    float *main = t->main ? t->main : t->grad;
    for (size_t i = 0; i < t->n_rows; i++) {
        const struct br__rows *r = &t->rows[i];
        size_t from = (size_t)r->row * all + (size_t)t->col, rows = (size_t)r->n;
        size_t n = cols == all ? rows * cols : cols; /* that follow one another */
        for (size_t k = 0; k < rows * cols; k += n)
            br_cast(main + r->at + k, BR_F32, data + (from + k / cols * all) * size, q->dtype, n,
                    0);
    }
    for (size_t k = 0; k < t->n && t->minus_one; k++)
        main[k] -= 1;
    if (s->half)
        br_cast(t->bf16, s->half, main, BR_F32, t->n, 0);
    if (!t->main)
        memset(t->grad, 0, t->n * sizeof *t->grad);
    else if (s->half)
        br_cast(t->main, BR_F32, t->bf16, s->half, t->n, 0);
}

/* Zeros, or addresses alone. */
static void *store_block(const struct br__store *s, size_t n)
{
    return s->device ? br__device_alloc(s->device, n) : br__reserve(n);
}

static void block_free(const struct br__store *s, void *p, size_t n)
{
    if (p && s->device)
        br__device_free(s->device, p);
    else if (p)
        br__unreserve(p, n);
}

#define MAIN_BYTES(s) (((s)->elems + ALIGN) * sizeof(float))
#define HALF_BYTES(s) (((s)->elems + 2 * ALIGN) * sizeof(uint16_t))

/* The part of a param's key before its item: a Megatron name. */
static const char *megatron_name(struct br__arena *a, const struct br__param *p)
{
    return br__arena_printf(a, "%.*s", (int)strcspn(p->key, "|"), p->key);
}

/* Tensor i, of what is used of source q. */
static int store_take(struct br__store *s, const struct br__source *q, const struct use *u,
                      size_t i)
{
    struct br__trained *t = &s->list[i];
    struct br__source *own = &s->own[i];
    *t = (struct br__trained){.name = q->name,
                              .megatron = megatron_name(&s->arena, u->param),
                              .ndim = q->ndim,
                              .n = used_elems(u),
                              .rows = u->rows,
                              .n_rows = u->n_rows,
                              .col = u->col,
                              .n_cols = u->n_cols,
                              .minus_one = u->param->centred != 0,
                              .expert = u->param->expert,
                              .shared = u->param->shared && !u->param->expert,
                              .main = s->main ? s->main + u->at : NULL,
                              .bf16 = s->bf16 ? s->bf16 + u->at : NULL,
                              .grad = s->grad + u->at};
    if (!t->megatron)
        return BR_E_NOMEM;
    t->copied = s->stage > 0 && strcmp(t->megatron, BR__EMBEDDING) == 0;
    memcpy(t->shape, q->shape, sizeof t->shape);
    if (s->device)
        store_fill(s, t, q);
    s->partial[i] = (uint8_t)u->partial;
    s->trained[q->index] = own;
    *own = *q;
    own->dtype = BR_F32;
    own->data = t->main;
    own->minus_one = t->minus_one;
    own->is_trained = 1;
    own->held = u->rows;
    own->n_held = u->n_rows;
    own->held_col = u->col;
    own->held_cols = u->n_cols;
    if (!s->half)
        return 0;
    if (is_wide(s, q)) {
        own->data = s->wide[i] = s->widened + s->n_wide;
        if (s->device)
            br_cast(s->wide[i], BR_F32, t->bf16, s->half, t->n, 0);
        s->n_wide += (t->n + ALIGN - 1) / ALIGN * ALIGN;
    } else {
        own->dtype = s->half;
        own->data = t->bf16;
    }
    return 0;
}

/* Room for the copies that are rounded. */
static int make_copies(struct br__store *s, const struct br__weights *w, const struct layout *l)
{
    s->bf16 = store_block(s, HALF_BYTES(s));
    size_t n = ALIGN;
    for (size_t i = 0; s->bf16 && i < l->n_sources; i++)
        if (l->uses[i].param && is_wide(s, source_at(w, i)))
            n += used_elems(&l->uses[i]) + ALIGN;
    s->widened = br__calloc(n, sizeof *s->widened);
    return s->bf16 && s->widened ? 0 : BR_E_NOMEM;
}

static int make_lists(struct br__store *s, size_t n_sources)
{
    s->list = br__arena_alloc(&s->arena, (s->n + 1) * sizeof *s->list);
    s->own = br__arena_alloc(&s->arena, (s->n + 1) * sizeof *s->own);
    s->wide = br__arena_alloc(&s->arena, (s->n + 1) * sizeof *s->wide);
    s->partial = br__arena_alloc(&s->arena, s->n + 1);
    s->trained = br__arena_alloc(&s->arena, (n_sources + 1) * sizeof *s->trained);
    return s->list && s->own && s->wide && s->partial && s->trained ? 0 : BR_E_NOMEM;
}

/* Addresses of the banks, and which tensor is in which. */
static void bind_banks(struct br__store *s)
{
    for (size_t i = 0, at = 0; i < s->n_banks; at += s->banks[i++].n) {
        s->banks[i].main = s->main ? s->main + at : NULL;
        s->banks[i].grad = s->grad + at;
        s->banks[i].half = s->bf16 ? s->bf16 + at : NULL;
    }
    for (size_t i = 0; i < s->n; i++) {
        struct br__trained *t = &s->list[i];
        while (t->grad < s->banks[t->bank].grad ||
               t->grad >= s->banks[t->bank].grad + s->banks[t->bank].n)
            t->bank++;
        t->at = (size_t)(t->grad - s->banks[t->bank].grad);
    }
}

static int store_make(struct br__store *s, const struct br__weights *w,
                      const struct br__params *params, const struct br_topo *topo,
                      const struct br__train_opts *o)
{
    size_t n = w->n_sources + (w->adapter ? w->adapter->n_sources : 0), at = 0;
    struct layout l = {br__arena_alloc(&s->arena, (n + 1) * sizeof *l.uses), n};
    if (!l.uses || lay_out(s, params, &l, topo, o->bucket) || make_lists(s, n))
        return BR_E_NOMEM;
    int has_main = !s->half || !o->sharded;
    s->main = has_main ? store_block(s, MAIN_BYTES(s)) : NULL;
    s->grad = store_block(s, MAIN_BYTES(s));
    int rc =
        s->grad && (s->main || !has_main) && !(s->half && make_copies(s, w, &l)) ? 0 : BR_E_NOMEM;
    for (size_t i = 0; i < n && !rc; i++)
        if (l.uses[i].param)
            rc = store_take(s, source_at(w, i), &l.uses[i], at++);
    if (!rc)
        bind_banks(s);
    return rc;
}

int br__store_open(struct br__store *s, struct br__rank *r, struct br__device *host,
                   const struct br__train_opts *o, struct br_err *err)
{
    const struct br__weights *w = r->m->weights;
    memset(s, 0, sizeof *s);
    s->threads = r->m->n_ranks > 1 ? BR__MAX(w->threads / (int)r->m->n_ranks, 1) : w->threads;
    s->stage = br_topo_coord(&r->m->topo, r->info->rank, BR_AXIS_PP);
    s->device = w->unread ? NULL : host;
    s->half = o->values == BR_BF16 || o->values == BR_F16 ? o->values : 0;
    if (!store_make(s, w, r->params, &r->m->topo, o))
        return 0;
    br__store_close(s);
    return br__nomem(err, "for the weights that are trained");
}

void br__store_unload(const struct br__store *s, struct br__weights *w)
{
    for (size_t i = 0; i < s->n; i++)
        br__weights_unload(w, source_at(w, s->own[i].index));
}

void br__store_close(struct br__store *s)
{
    block_free(s, s->bf16, HALF_BYTES(s));
    block_free(s, s->main, MAIN_BYTES(s));
    block_free(s, s->grad, MAIN_BYTES(s));
    br__free(s->widened);
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
    if (s->half && !rounded && s->main)
        rc = br__pool_run(s->threads, s->n, round_tensor, s, err);
    for (size_t i = 0; i < s->n && !rc; i++)
        if (s->wide[i])
            br_cast(s->wide[i], BR_F32, s->list[i].bf16, s->half, s->list[i].n, 0);
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
    return s->list[q->source - s->own].grad + br__source_place(q->source, q->row, q->col);
}
