/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* optim.c - AdamW and what comes before it: gradient norm, clipping, the choice of groups.
 *
 * The reference that kernels are compared with: one element at a time, in float32, in the order of
 * Transformer Engine's FusedAdam (multi_tensor_adam, AdamW mode), with one statement per rounding
 * so that no compiler fuses a multiplication with an addition. */
#include "optim.h"

#include <math.h>
#include <string.h>

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

void br__adamw_step(const struct br__adamw *h, float *param, float *m, float *v, const float *grad,
                    uint16_t *out, size_t n)
{
    const float rest1 = 1 - h->beta1, rest2 = 1 - h->beta2;

    for (size_t i = 0; i < n; i++) {
        float g = grad[i] * h->grad_scale;
        float old1 = h->beta1 * m[i], new1 = rest1 * g;
        float old2 = h->beta2 * v[i], new2 = rest2 * g;
        new2 = new2 * g;
        m[i] = old1 + new1;
        v[i] = old2 + new2;
        float mean = m[i] / h->correct1, square = v[i] / h->correct2;
        float update = mean / (sqrtf(square) + h->eps);
        float decay = h->weight_decay * param[i];
        update = update + decay;
        float change = h->lr * update;
        param[i] = param[i] - change;
    }
    if (out)
        br_cast(out, BR_BF16, param, BR_F32, n, 0);
}

/* ---- norm ------------------------------------------------------------------------------------ */

struct norm_job {
    const struct br__grad_span *g;
    const uint32_t *tensor; /* of each chunk */
    const size_t *first;    /* its first element */
    double *sum;
};

static int square_chunk(void *arg, size_t i, int worker, struct br_err *err)
{
    const struct norm_job *j = arg;
    const struct br__grad_span *g = &j->g[j->tensor[i]];
    const float *x = g->data + j->first[i];
    size_t n = BR__MIN(g->n - j->first[i], (size_t)BR__NORM_CHUNK);
    double sum = 0;

    (void)worker;
    (void)err;
    double part[BR__NORM_PARTS] = {0};
    for (size_t k = 0; k < n; k++) {
        double square = (double)x[k] * x[k];
        part[k % BR__NORM_PARTS] += square;
    }
    for (size_t k = 0; k < BR__NORM_PARTS; k++)
        sum += part[k];
    j->sum[i] = sum;
    return BR_OK;
}

int br__grad_norm(const struct br__grad_span *g, size_t n, int threads, double *norm,
                  struct br_err *err)
{
    struct br__arena a = {0};
    size_t n_chunks = 0, at = 0;

    for (size_t i = 0; i < n; i++)
        n_chunks += (g[i].n + BR__NORM_CHUNK - 1) / BR__NORM_CHUNK;
    uint32_t *tensor = br__arena_alloc(&a, n_chunks * sizeof *tensor);
    size_t *first = br__arena_alloc(&a, n_chunks * sizeof *first);
    double *sum = br__arena_alloc(&a, n_chunks * sizeof *sum), total = 0;
    int rc = tensor && first && sum ? BR_OK : br__nomem(err, "for the gradient norm");
    for (size_t i = 0; !rc && i < n; i++)
        for (size_t k = 0; k < g[i].n; k += BR__NORM_CHUNK) {
            tensor[at] = (uint32_t)i;
            first[at++] = k;
        }
    struct norm_job j = {g, tensor, first, sum};
    if (!rc)
        rc = br__pool_run(threads, n_chunks, square_chunk, &j, err);
    for (size_t i = 0; !rc && i < n_chunks; i++)
        total += sum[i];
    *norm = sqrt(total);
    br__arena_free(&a);
    return rc;
}

float br__clip_scale(double norm, double max_norm)
{
    float scale = (float)(max_norm / (norm + 1.0e-6));
    return max_norm > 0 && scale < 1 ? scale : 1;
}

uint64_t br__count_zeros(const struct br__grad_span *g, size_t n, float scale)
{
    uint64_t zeros = 0;

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < g[i].n; k++) {
            float x = g[i].data[k] * scale;
            zeros += x == 0;
        }
    return zeros;
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
