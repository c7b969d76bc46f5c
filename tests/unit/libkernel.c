/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libkernel.c - see libkernel.h. */
#include "libkernel.h"
#include "libkern.h"

#include <check.h>
#include <string.h>

void in_each_place(void (*fn)(const struct kern_place *p, void *arg), void *arg)
{
    const struct br_backend *cpu = br__cpu_backend();
    const struct br__cpu_tier *tiers[16];
    size_t n = kern_tiers(tiers, BR_COUNTOF(tiers));
    if (kern_device()) {
        struct kern_place p = {tiers[0]->name, 0, 1, NULL};
        fn(&p, arg);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        for (uint32_t threads = 1; threads <= MAX_THREADS; threads++) {
            struct br_err err = BR_ERR_INIT;
            uint64_t features;
            struct kern_place p = {tiers[i]->name, tiers[i]->features, threads, NULL};
            ck_assert_msg(cpu->open(&p.device, 0, threads, &features, &err) == 0, "%s", err.msg);
            fn(&p, arg);
            cpu->close(p.device);
        }
    }
}

/* ---- tensors --------------------------------------------------------------------------------- */

struct br_tensor tensor(uint32_t dtype, uint32_t n_dim, const int64_t *shape)
{
    struct br_tensor t = kern_tensor(NULL, dtype, n_dim, shape);
    int64_t n = count(&t);
    t.data = calloc((size_t)n + !n, br_dtype_size((int)dtype));
    ck_assert_ptr_nonnull(t.data);
    return t;
}

void tensor_free(struct br_tensor *t)
{
    free(t->data);
    t->data = NULL;
}

int64_t count(const struct br_tensor *t)
{
    int64_t n = 1;
    for (uint32_t i = 0; i < t->n_dim; i++)
        n *= t->shape[i];
    return n;
}

float *floats(const struct br_tensor *t)
{
    ck_assert_uint_eq(t->dtype, BR_F32);
    return t->data;
}

int32_t *ints(const struct br_tensor *t)
{
    ck_assert_uint_eq(t->dtype, BR_I32);
    return t->data;
}

struct br_tensor with_gaps(const struct br_tensor *t, int64_t gap)
{
    struct br_tensor w = *t;
    size_t each = br_dtype_size((int)t->dtype);
    if (t->n_dim < 2)
        gap = 0;
    int64_t cols = t->shape[t->n_dim - 1], rows = cols ? count(t) / cols : 0;
    for (uint32_t i = 0; i + 1 < t->n_dim; i++)
        w.stride[i] = t->stride[i] / cols * (cols + gap);
    size_t bytes = (size_t)(rows * (cols + gap) - (rows ? gap : 0)) * each;
    w.data = malloc(bytes + !bytes);
    ck_assert_ptr_nonnull(w.data);
    memset(w.data, 0xFF, bytes);
    for (int64_t r = 0; r < rows; r++)
        memcpy((char *)w.data + (size_t)(r * (cols + gap)) * each,
               (char *)t->data + (size_t)(r * cols) * each, (size_t)cols * each);
    return w;
}

void fill_random(struct br_tensor *t, uint32_t seed, float scale)
{
    float *x = floats(t);
    uint32_t s = seed * 2654435761u + 1;
    for (int64_t i = 0; i < count(t); i++) {
        float sum = 0;
        for (int j = 0; j < 4; j++) {
            s = s * 1664525u + 1013904223u;
            sum += (float)(s >> 8) / (float)(1 << 24) - 0.5f;
        }
        x[i] = sum * 1.7f * scale;
    }
}

/* ---- calls ----------------------------------------------------------------------------------- */

const struct br_kernel *kernel_of(const struct kern_place *p, uint32_t op, uint32_t weight_dtype)
{
    return kern_row(p->features, op, weight_dtype);
}

void run_call(const struct kern_place *p, struct kern_call *c)
{
    kern_run_on(p->device, p->tier, p->features, p->threads, c);
}
