/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* kernel.c - the choice of the kernel that runs an op on a device. */
#include "graph_internal.h"

struct br__kernel_key br__kernel_key(uint32_t op, const uint32_t *in, uint32_t n_in, uint32_t out)
{
    struct br__kernel_key key = {.op = op, .weight = BR_NONE, .value = BR_NONE};
    uint32_t weight = (uint32_t)br__ops[op].weight; /* none: beyond the inputs that are looked at */
    if (br__ops[op].weight != BR__WEIGHT_none)
        key.weight = (int)in[weight];
    for (uint32_t i = 0; i < n_in && i < 2 && key.value == BR_NONE; i++)
        if (i != weight && br_dtype_is_float((int)in[i]))
            key.value = (int)in[i];
    if (key.value == BR_NONE)
        key.value = br_dtype_is_float((int)out) ? (int)out : BR_F32;
    return key;
}

const struct br_kernel *br__device_kernel(const struct br__device *d, struct br__kernel_key key)
{
    for (uint32_t i = 0; i < d->n_kernels; i++) {
        const struct br_kernel *k = &d->kernels[i];
        uint32_t values = k->values ? k->values : BR_BIT(BR_F32);
        if (k->op == key.op && !(k->needs & ~d->features) && values & BR_BIT(key.value) &&
            (!k->weights || k->weights & BR_BIT(key.weight)))
            return k;
    }
    return NULL;
}

int br__graph_has(const struct br_graph *g, uint32_t op, br_val x, br_val w)
{
    const struct br__kernel_key key = {
        .op = op, .weight = (int)br__node(g, w)->dtype, .value = (int)br__node(g, x)->dtype};
    return g->device && br__device_kernel(g->device, key);
}
