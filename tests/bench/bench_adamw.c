/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* bench_adamw [MILLIONS [ROUNDS]] - the optimizer beside a stream of the same reads and writes: 28
 * bytes a parameter in float32, 30 with a copy in bfloat16.  Both run on the same threads in turn;
 * prints medians as JSON. */
#include "../../core/train/optim.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ROUNDS 101

struct arrays {
    int64_t n;
    float *p, *m, *v, *g;
    uint16_t *copy; /* NULL: none */
};

/* Elements that thread s takes: from *from to *to, both multiples of 16. */
static void range_of(const struct arrays *a, const struct br_stream *s, int64_t *from, int64_t *to)
{
    int64_t each = (a->n / s->n_threads + 15) / 16 * 16;
    *from = BR__MIN(each * s->thread, a->n);
    *to = BR__MIN(*from + each, a->n);
}

/* Next to no arithmetic. */
static void add_to(float *restrict x, const float *restrict g)
{
    for (int k = 0; k < 16; k++)
        x[k] += g[k];
}

static void upper_half(uint16_t *restrict to, const float *restrict x)
{
    uint32_t bits[16];
    memcpy(bits, x, sizeof bits);
    for (int k = 0; k < 16; k++)
        to[k] = (uint16_t)(bits[k] >> 16);
}

static void stream(void *arg, const struct br_stream *s)
{
    const struct arrays *a = arg;
    int64_t from, to;
    range_of(a, s, &from, &to);
    for (int64_t i = from; i < to; i += 16) {
        add_to(a->p + i, a->g + i);
        add_to(a->m + i, a->g + i);
        add_to(a->v + i, a->g + i);
        if (a->copy)
            upper_half(a->copy + i, a->p + i);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* rate[0]: bytes a second of the stream, [1]: of AdamW, [2]: the median of their ratios. */
static int compare(struct br__device *d, const struct arrays *a, int rounds, double *rate,
                   struct br_err *err)
{
    static double s[3][MAX_ROUNDS];
    struct arrays mine = *a;
    const struct br__adamw h = br__adamw_make(&(struct br__adamw_opts){.lr = 1e-4,
                                                                       .weight_decay = 0.1,
                                                                       .beta1 = 0.9,
                                                                       .beta2 = 0.95,
                                                                       .eps = 1e-8,
                                                                       .step = 3,
                                                                       .grad_scale = 1});
    const struct br__adamw_arrays x = {(size_t)a->n, a->p, a->m, a->v, a->g, a->copy};
    double bytes = (double)a->n * (a->copy ? 30 : 28);
    int rc = 0;
    for (int i = -1; i < rounds && !rc; i++) { /* the first touches the pages */
        double t0 = br__now();
        d->backend.run(d->device, stream, &mine);
        double t1 = br__now();
        rc = br__adamw_step(d, &h, &x, err);
        double t2 = br__now();
        if (i < 0)
            continue;
        s[0][i] = bytes / (t1 - t0);
        s[1][i] = bytes / (t2 - t1);
        s[2][i] = s[1][i] / s[0][i];
    }
    for (int k = 0; k < 3; k++) {
        qsort(s[k], (size_t)rounds, sizeof s[k][0], by_value);
        rate[k] = s[k][rounds / 2];
    }
    return rc;
}

int main(int argc, char **argv)
{
    struct br_err err = BR_ERR_INIT;
    struct br__device d = {0};
    int64_t n = (int64_t)((argc > 1 ? strtod(argv[1], NULL) : 32) * 1e6) / 64 * 64;
    int rounds = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 11;
    double f32[3], half[3];
    if (n < 64 || rounds < 1 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench_adamw [MILLIONS [ROUNDS]]\n");
        return 2;
    }
    int rc = br__device_open(&d, "cpu", NULL, 0, 0, &err);
    struct arrays a = {.n = n};
    if (!rc) {
        a.p = br__device_alloc(&d, (size_t)n * 18);
        rc = a.p ? 0 : br__nomem(&err, "for %lld parameters", (long long)n);
    }
    if (!rc) {
        a.m = a.p + n;
        a.v = a.m + n;
        a.g = a.v + n;
        rc = compare(&d, &a, rounds, f32, &err);
    }
    if (!rc) {
        a.copy = (uint16_t *)(void *)(a.g + n);
        rc = compare(&d, &a, rounds, half, &err);
    }
    if (rc) {
        fprintf(stderr, "bench_adamw: %s\n", err.msg);
        return 1;
    }
    printf("{\"parameters\": %lld, \"stream_28\": %.4g, \"adamw_28\": %.4g, \"ratio_28\": %.3f, "
           "\"stream_30\": %.4g, \"adamw_30\": %.4g, \"ratio_30\": %.3f}\n",
           (long long)n, f32[0], f32[1], f32[2], half[0], half[1], half[2]);
    br__device_free(&d, a.p);
    br__device_close(&d);
    return 0;
}
