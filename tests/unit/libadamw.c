/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
#include "libadamw.h"
#include "libgolden.h"
#include <math.h>

/* One statement per rounding, so that no compiler fuses a multiplication with an addition. */
void adamw_reference(const struct br__adamw *h, const struct br__adamw_arrays *x)
{
    const float rest1 = 1 - h->beta1, rest2 = 1 - h->beta2;

    for (size_t i = 0; i < x->n; i++) {
        float g = x->grad[i] * h->grad_scale;
        float old1 = h->beta1 * x->m[i], new1 = rest1 * g;
        float old2 = h->beta2 * x->v[i], new2 = rest2 * g;
        new2 = new2 * g;
        x->m[i] = old1 + new1;
        x->v[i] = old2 + new2;
        float mean = x->m[i] / h->correct1, square = x->v[i] / h->correct2;
        float update = mean / (sqrtf(square) + h->eps);
        float decay = h->weight_decay * x->param[i];
        update = update + decay;
        float change = h->lr * update;
        x->param[i] = x->param[i] - change;
    }
    if (x->copy)
        br_cast(x->copy, BR_BF16, x->param, BR_F32, x->n, 0);
}

double squares_reference(const float *x, size_t n)
{
    double part[16] = {0}, sum = 0;

    for (size_t k = 0; k < n; k++) {
        double square = (double)x[k] * x[k];
        part[k % 16] += square;
    }
    for (size_t k = 0; k < 16; k++)
        sum += part[k];
    return sum;
}

struct br__device *cpu_device(uint32_t threads)
{
    static struct br__device devices[9];
    struct br_err err = BR_ERR_INIT;

    ck_assert_uint_lt(threads, BR_COUNTOF(devices));
    if (!devices[threads].device)
        must(br__device_open(&devices[threads], "cpu", NULL, 0, threads, &err), &err);
    return &devices[threads];
}
