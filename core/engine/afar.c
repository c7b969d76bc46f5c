/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* afar.c - training on a device whose memory is not the host's.
 *
 * What is trained stays in host memory, with the optimizer; the device has a copy of the weights,
 * which is renewed after each step, and adds gradients up in a block laid out as the store's, which
 * is fetched once a step. */
#include "trainer.h"
#include <string.h>

#define PIECE ((size_t)1 << 20) /* elements that are fetched at once */

int br__afar_open(struct br__afar *a, struct br__rank *r, struct br_err *err)
{
    memset(a, 0, sizeof *a);
    a->device = &r->dev;
    a->host = &r->dev;
    if (br__device_is_host(&r->dev))
        return 0;
    a->host = &a->cpu;
    return br__device_open(&a->cpu, "cpu", NULL, 0, (uint32_t)r->m->weights->threads, err);
}

void br__afar_close(struct br__afar *a)
{
    if (a->sums)
        br__device_free(a->device, a->sums);
    if (a->host == &a->cpu)
        br__device_close(&a->cpu);
    memset(a, 0, sizeof *a);
}

static int is_afar(const struct br__afar *a)
{
    return a->host != a->device;
}

int br__afar_make_sums(struct br__afar *a, const struct br__store *s, struct br_err *err)
{
    if (!is_afar(a) || a->sums || !s->device)
        return 0;
    a->sums = br__device_alloc(a->device, s->elems * sizeof *a->sums);
    return a->sums
               ? 0
               : br_fail(err, BR_E_NOMEM, "device '%s' is out of memory for gradients of %zu bytes",
                         a->device->backend.name, s->elems * sizeof *a->sums);
}

float *br__afar_grad(const struct br__afar *a, const struct br__store *s, const struct br__part *q)
{
    float *at = br__store_grad(s, q);
    return a->sums ? a->sums + (at - s->grad) : at;
}

int br__afar_zero(struct br__afar *a, const struct br__store *s, struct br_err *err)
{
    const struct br_tensor sums = {
        .data = a->sums, .dtype = BR_F32, .n_dim = 1, .shape = {(int64_t)s->elems}, .stride = {1}};
    const struct br_call call = {.op = BR_OP_ZEROS, .n_out = 1, .in = &sums, .out = &sums};
    return a->sums && s->elems ? br__device_call(a->device, &call, err) : 0;
}

int br__afar_fetch(struct br__afar *a, const struct br__store *s, struct br_err *err)
{
    if (!a->sums)
        return 0;
    float *piece = br__alloc(BR__MIN(PIECE, s->elems + 1) * sizeof *piece);
    int rc = piece ? 0 : br__nomem(err, "for gradients");
    for (size_t at = 0, n; at < s->elems && !rc; at += n) {
        n = BR__MIN(PIECE, s->elems - at);
        rc = br__device_fetch(a->device, piece, a->sums + at, n * sizeof *piece, err);
        for (size_t k = 0; k < n && !rc; k++)
            s->grad[at + k] += piece[k];
    }
    br__free(piece);
    return rc ? rc : br__afar_zero(a, s, err);
}

int br__afar_renew(struct br__afar *a, const struct br__params *params, struct br_err *err)
{
    int rc = 0;
    for (size_t i = 0; i < params->n && is_afar(a) && !rc; i++)
        if (br__is_trained(params->w, params->list[i]))
            rc = br__device_renew(a->device, &params->list[i]->stored, err);
    return rc;
}
