/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* optim.c - AdamW and what comes before it: gradient norm, clipping, the choice of groups.
 *
 * AdamW is Transformer Engine's FusedAdam (multi_tensor_adam, AdamW mode): in float32, in its
 * order, each operation rounded by itself.  What a device that is the host does with threads of its
 * own, any other does by an op. */
#include "optim.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

/* ---- AdamW ----------------------------------------------------------------------------------- */

struct br__adamw br__adamw_make(const struct br__adamw_opts *o)
{
    struct br__adamw h = {
        .lr = (float)o->lr,
        .beta1 = (float)o->beta1,
        .beta2 = (float)o->beta2,
        .eps = (float)o->eps,
        .weight_decay = (float)o->weight_decay,
        .correct1 = 1,
        .correct2 = 1,
        .grad_scale = o->grad_scale,
    };
    if (!o->no_bias_correction) { /* the kernel gets the betas as floats, and computes this in
                                     double */
        h.correct1 = (float)(1 - pow((double)h.beta1, (double)o->step));
        h.correct2 = (float)(1 - pow((double)h.beta2, (double)o->step));
    }
    return h;
}

/* x[n] as an input of an op. */
static struct br_tensor flat(const void *x, uint32_t dtype, size_t n)
{
    return (struct br_tensor){.data = (void *)(uintptr_t)x,
                              .dtype = dtype,
                              .n_dim = 1,
                              .shape = {(int64_t)n},
                              .stride = {1}};
}

int br__adamw_step(struct br__device *d, const struct br__adamw *h,
                   const struct br__adamw_arrays *x, struct br_err *err)
{
    const struct br_tensor in[] = {flat(x->param, BR_F32, x->n), flat(x->m, BR_F32, x->n),
                                   flat(x->v, BR_F32, x->n),     flat(x->grad, BR_F32, x->n),
                                   flat(h, BR_F32, 8),           flat(x->copy, BR_BF16, x->n)};
    const struct br_call call = {
        .op = BR_OP_ADAMW, .n_in = x->copy ? 6 : 5, .n_out = 1, .in = in, .out = &in[0]};

    return x->n ? br__device_give(d, &call, err) : BR_OK;
}

/* ---- norm ------------------------------------------------------------------------------------ */

#define NORM_CHUNK 65536 /* elements of one sum of SQUARE_SUMS */

static size_t norm_chunks(size_t n)
{
    return (n + NORM_CHUNK - 1) / NORM_CHUNK;
}

/* SQUARE_SUMS of all gradients, one chunk after another, added in that order. */
static int sum_chunks(struct br__device *d, const struct br__grad_span *g, size_t n,
                      const struct br_attr *attr, double *total, struct br_err *err)
{
    size_t all = 0, at = 0;
    void *room;
    int rc = BR_OK;

    for (size_t i = 0; i < n; i++)
        all += norm_chunks(g[i].n);
    double *sum = br__calloc(all + 1, sizeof *sum);
    if (!sum)
        return br__nomem(err, "for sums of the gradients");
    room = sum;
    if (!br__device_is_host(d))
        rc = br__device_room(d, all * sizeof *sum, &room, err);
    for (size_t i = 0; i < n && !rc; at += norm_chunks(g[i++].n)) {
        const struct br_tensor in = flat(g[i].data, BR_F32, g[i].n),
                               out = flat((double *)room + at, BR_F64, norm_chunks(g[i].n));
        const struct br_call call = {
            .op = BR_OP_SQUARE_SUMS, .n_in = 1, .n_out = 1, .in = &in, .out = &out, .attr = *attr};
        rc = g[i].n ? br__device_give(d, &call, err) : BR_OK;
    }
    if (!rc && all && !br__device_is_host(d))
        rc = br__device_fetch(d, sum, room, all * sizeof *sum, err);
    *total = 0;
    for (size_t i = 0; i < all && !rc; i++)
        *total += sum[i];
    br__free(sum);
    return rc;
}

int br__grad_squares(struct br__device *d, const struct br__grad_span *g, size_t n, double *squares,
                     struct br_err *err)
{
    return sum_chunks(d, g, n, &(struct br_attr){{0}, {0}}, squares, err);
}

int br__grad_norm(struct br__device *d, const struct br__grad_span *g, size_t n, double *norm,
                  struct br_err *err)
{
    int rc = br__grad_squares(d, g, n, norm, err);

    *norm = sqrt(*norm);
    return rc;
}

float br__clip_scale(double norm, double max_norm)
{
    float scale = (float)(max_norm / (norm + 1.0e-6));
    return max_norm > 0 && scale < 1 ? scale : 1;
}

/* ---- passes over all gradients --------------------------------------------------------------- */

#define PASS_CHUNK ((size_t)1 << 20) /* elements of one task */

struct pass {
    struct br__grad_span *chunks;
    size_t n;
    float scale;
    _Atomic uint64_t zeros;
};

/* chunks: the spans cut into pieces of at most PASS_CHUNK elements. */
static int pass_open(struct pass *p, const struct br__grad_span *g, size_t n, struct br_err *err)
{
    size_t most = 0;

    for (size_t i = 0; i < n; i++)
        most += g[i].n / PASS_CHUNK + 1;
    p->chunks = br__calloc(most + 1, sizeof *p->chunks);
    if (!p->chunks)
        return br__nomem(err, "for a pass over the gradients");
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < g[i].n; k += PASS_CHUNK)
            p->chunks[p->n++] =
                (struct br__grad_span){g[i].data + k, BR__MIN(PASS_CHUNK, g[i].n - k)};
    return BR_OK;
}

static int scale_chunk(void *arg, size_t i, int worker, struct br_err *err)
{
    const struct pass *p = arg;
    const struct br__grad_span *x = &p->chunks[i];

    (void)worker;
    (void)err;
    for (size_t k = 0; k < x->n; k++)
        x->data[k] *= p->scale;
    return BR_OK;
}

/* In place. */
static int scale_span(struct br__device *d, const struct br__grad_span *g, float scale,
                      struct br_err *err)
{
    const struct br_tensor x = flat(g->data, BR_F32, g->n);
    const struct br_call call = {.op = BR_OP_SCALE,
                                 .n_in = 1,
                                 .n_out = 1,
                                 .in = &x,
                                 .out = &x,
                                 .attr = {.f = {(double)scale}}};

    return g->n ? br__device_give(d, &call, err) : BR_OK;
}

int br__scale_grads(struct br__device *d, const struct br__grad_span *g, size_t n, float scale,
                    struct br_err *err)
{
    struct pass p = {.scale = scale};
    int rc = BR_OK;

    if (scale == 1)
        return BR_OK;
    for (size_t i = 0; i < n && !rc && !br__device_is_host(d); i++)
        rc = scale_span(d, &g[i], scale, err);
    if (!br__device_is_host(d))
        return rc;
    rc = pass_open(&p, g, n, err);
    if (!rc)
        rc = br__pool_run((int)d->n_threads, p.n, scale_chunk, &p, err);
    br__free(p.chunks);
    return rc;
}

int br__grad_not_finite(struct br__device *d, const struct br__grad_span *g, int *found,
                        struct br_err *err)
{
    size_t most = BR__MIN(g->n, PASS_CHUNK);
    float *piece = br__device_is_host(d) ? NULL : br__alloc((most + 1) * sizeof *piece);
    int rc = piece || br__device_is_host(d) ? BR_OK : br__nomem(err, "for a piece of a gradient");

    *found = 0;
    for (size_t at = 0, n; at < g->n && !rc && !*found; at += n) {
        n = BR__MIN(most, g->n - at);
        if (piece)
            rc = br__device_fetch(d, piece, g->data + at, n * sizeof *piece, err);
        *found = !rc && br__first_not_finite(piece ? piece : g->data + at, n) < n;
    }
    br__free(piece);
    return rc;
}

#define AT_ONCE 16 /* elements that a compiler takes at once */

static int count_chunk(void *arg, size_t i, int worker, struct br_err *err)
{
    struct pass *p = arg;
    const float *x = p->chunks[i].data, scale = p->scale;
    size_t n = p->chunks[i].n, k = 0;
    uint32_t part[AT_ONCE] = {0}, zeros = 0;

    (void)worker;
    (void)err;
    for (; k + AT_ONCE <= n; k += AT_ONCE)
        for (int j = 0; j < AT_ONCE; j++)
            part[j] += x[k + (size_t)j] * scale == 0;
    for (; k < n; k++)
        zeros += x[k] * scale == 0;
    for (int j = 0; j < AT_ONCE; j++)
        zeros += part[j];
    atomic_fetch_add(&p->zeros, zeros);
    return BR_OK;
}

int br__count_zeros(struct br__device *d, const struct br__grad_span *g, size_t n, float scale,
                    uint64_t *zeros, struct br_err *err)
{
    const struct br_attr attr = {.i = {1}, .f = {(double)scale}};
    struct pass p = {.scale = scale};
    double counted = 0;
    int rc;

    if (!br__device_is_host(d)) {
        rc = sum_chunks(d, g, n, &attr, &counted, err);
        *zeros = (uint64_t)counted;
        return rc;
    }
    rc = pass_open(&p, g, n, err);
    if (!rc)
        rc = br__pool_run((int)d->n_threads, p.n, count_chunk, &p, err);
    *zeros = p.zeros;
    br__free(p.chunks);
    return rc;
}

/* ---- groups ---------------------------------------------------------------------------------- */

/* "decoder.layers.X" without a number holds all layers, with one axis more than a layer's own
 * tensor. */
static int is_stacked(const char *name)
{
    const char *p = strstr(name, "layers.");
    if (!p || (p != name && p[-1] != '.'))
        return 0;
    p += strlen("layers.");
    return *p < '0' || *p > '9';
}

int br__is_decayed(const char *name, int ndim, int qk_norm)
{
    if (qk_norm && (br__ends(name, ".q_layernorm.weight") || br__ends(name, ".k_layernorm.weight")))
        return 1;
    return ndim - is_stacked(name) > 1 && !br__ends(name, ".bias");
}
