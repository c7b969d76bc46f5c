/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* offload.c - optimizer offload: training on a device whose memory is not the host's.
 *
 * What is trained stays in host memory, with the optimizer; the device has a copy of the weights,
 * which is renewed after each step, and adds gradients up in a block laid out as the store's, which
 * is fetched once a step. */
#include "trainer.h"
#include <string.h>

#define PIECE ((size_t)1 << 20) /* elements that are fetched at once */

int br__offload_open(struct br__offload *o, struct br__rank *r, struct br_err *err)
{
    memset(o, 0, sizeof *o);
    o->device = &r->dev;
    o->host = &r->dev;
    if (br__device_is_host(&r->dev))
        return 0;
    o->host = &o->cpu;
    return br__device_open(&o->cpu, "cpu", NULL, 0, (uint32_t)r->m->weights->threads, err);
}

void br__offload_close(struct br__offload *o)
{
    if (o->sums)
        br__device_free(o->device, o->sums);
    if (o->host == &o->cpu)
        br__device_close(&o->cpu);
    memset(o, 0, sizeof *o);
}

static int is_offloaded(const struct br__offload *o)
{
    return o->host != o->device;
}

int br__offload_make_sums(struct br__offload *o, const struct br__store *s, struct br_err *err)
{
    if (!is_offloaded(o) || o->sums || !s->device)
        return 0;
    o->sums = br__device_alloc(o->device, s->elems * sizeof *o->sums);
    return o->sums
               ? 0
               : br_fail(err, BR_E_NOMEM, "device '%s' is out of memory for gradients of %zu bytes",
                         o->device->backend.name, s->elems * sizeof *o->sums);
}

float *br__offload_grad(const struct br__offload *o, const struct br__store *s,
                        const struct br__part *q)
{
    float *at = br__store_grad(s, q);
    return o->sums ? o->sums + (at - s->grad) : at;
}

int br__offload_zero(struct br__offload *o, const struct br__store *s, struct br_err *err)
{
    const struct br_tensor sums = {
        .data = o->sums, .dtype = BR_F32, .n_dim = 1, .shape = {(int64_t)s->elems}, .stride = {1}};
    const struct br_call call = {.op = BR_OP_ZEROS, .n_out = 1, .in = &sums, .out = &sums};
    return o->sums && s->elems ? br__device_call(o->device, &call, err) : 0;
}

int br__offload_fetch(struct br__offload *o, const struct br__store *s, struct br_err *err)
{
    if (!o->sums)
        return 0;
    float *piece = br__alloc(BR__MIN(PIECE, s->elems + 1) * sizeof *piece);
    int rc = piece ? 0 : br__nomem(err, "for gradients");
    for (size_t at = 0, n; at < s->elems && !rc; at += n) {
        n = BR__MIN(PIECE, s->elems - at);
        rc = br__device_fetch(o->device, piece, o->sums + at, n * sizeof *piece, err);
        for (size_t k = 0; k < n && !rc; k++)
            s->grad[at + k] += piece[k];
    }
    br__free(piece);
    return rc ? rc : br__offload_zero(o, s, err);
}

int br__offload_renew(struct br__offload *o, const struct br__params *params, struct br_err *err)
{
    int rc = 0;
    for (size_t i = 0; i < params->n && is_offloaded(o) && !rc; i++)
        if (br__is_trained(params->w, params->list[i]))
            rc = br__device_renew(o->device, &params->list[i]->stored, err);
    return rc;
}
