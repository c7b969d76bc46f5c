/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* margins.c - how decided the routers of a training run are.
 *
 * margins LEAST RECIPE SETTING...: train as `bridge train RECIPE SETTING...` does, on one rank and
 * without saving, and look at every choice of experts.  Exit status 1 if the last chosen expert's
 * logit is not by LEAST larger than the first other's, for a token of any layer and step: then a
 * run whose sums have other last digits may choose otherwise. */
#include "train/run.h"
#include "train/state.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    void (*topk)(const struct br_call *c);
    double least; /* so far */
    size_t n;
} seen = {.least = INFINITY};

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* Between the k-th largest logit of token t and the next. */
static double margin_of(const struct br_tensor *logits, int64_t t, int64_t k)
{
    float sorted[256];
    size_t n = (size_t)logits->shape[1], width = br_dtype_size((int)logits->dtype);
    if (n > BR_COUNTOF(sorted))
        exit(2);
    (void)br_cast(sorted, BR_F32,
                  (const char *)logits->data + (size_t)(t * logits->stride[0]) * width,
                  (int)logits->dtype, n, 0);
    qsort(sorted, n, sizeof *sorted, descending);
    return (double)sorted[k - 1] - (double)sorted[k];
}

static void watched_topk(const struct br_call *c)
{
    const struct br_tensor *x = &c->in[0];
    for (int64_t t = 0; t < x->shape[0]; t++) {
        seen.least = fmin(seen.least, margin_of(x, t, c->attr.i[0]));
        seen.n++;
    }
    seen.topk(c);
}

static struct br_kernel kernels[1024];
static void watch_topk(struct br__device *d)
{
    if (d->n_kernels > BR_COUNTOF(kernels))
        exit(2);
    memcpy(kernels, d->kernels, d->n_kernels * sizeof *kernels);
    for (uint32_t i = d->n_kernels; i-- > 0;)
        if (kernels[i].op == BR_OP_TOPK) {
            seen.topk = kernels[i].run;
            kernels[i].run = watched_topk;
        }
    d->kernels = kernels;
}

static int train_steps(struct br__train *t, const struct br__run *run, struct br_err *err)
{
    const struct br__corpus_steps steps = {BR__TRAIN, run->global_batch, 0, 0};
    struct br__readers f = {0};
    int rc = br__readers_open(&f, t, &steps, err);
    for (int64_t i = 0; i < run->train_iters && !rc; i++) {
        struct br__step_report report;
        rc = br__readers_next(&f, t, "train", err);
        if (!rc)
            rc = br__train_step(t, f.step, &report, err);
    }
    br__readers_close(&f);
    return rc;
}

int main(int argc, char **argv)
{
    struct br__arena a = {0};
    struct br__registry *registry = NULL;
    struct br__recipe *r = br__arena_alloc(&a, sizeof *r);
    struct br__train *t = NULL;
    struct br__run run;
    struct br_err err = BR_ERR_INIT;
    if (argc < 3)
        return 2;
    const struct br__recipe_opts ro = {.name = argv[2],
                                       .sets = (const char *const *)argv + 3,
                                       .n_sets = (size_t)argc - 3,
                                       .incomplete = 1};
    const struct br__run_opts o = {.single_rank = 1};
    const struct br__training_opts to = {.threads = 1, .device = "cpu"};
    int rc = br__registry_open(&registry, NULL, &err);
    if (!rc)
        rc = br__registry_load_all(registry, &err);
    if (!rc)
        rc = br__recipe_open(&a, registry, &ro, r, &err);
    if (!rc)
        rc = br__run_make(&a, registry, r, &o, &run, &err);
    if (!rc)
        rc = br__train_open(&t, &run, &to, &err);
    if (!rc) {
        struct br__device *d = br__trainer_device(t->trainer, 0);
        const struct br_kernel *own = d->kernels;
        watch_topk(d);
        rc = train_steps(t, &run, &err);
        d->kernels = own;
    }
    br__train_close(t);
    br__registry_close(registry);
    br__arena_free(&a);
    if (rc) {
        fprintf(stderr, "%s\n", err.msg);
        return 2;
    }
    printf("%zu choices, decided by %g or more\n", seen.n, seen.least);
    return seen.n > 0 && seen.least >= strtod(argv[1], NULL) ? 0 : 1;
}
