/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
#include "libtrainckpt.h"

#include <string.h>

static struct br_err err;

static void add(struct live_run *r, const char *name, int ndim, const int64_t *shape)
{
    struct br__live *t = &r->list[r->model.n++];
    t->name = br__arena_strdup(&r->arena, name);
    t->ndim = ndim;
    t->n = 1;
    for (int i = 0; i < ndim; i++) {
        t->shape[i] = shape[i];
        t->n *= (size_t)shape[i];
    }
    for (int k = 0; k < BR__N_OPTIM_KINDS; k++)
        ck_assert((t->state[k] = br__arena_alloc(&r->arena, (t->n + 1) * sizeof(float))) != NULL);
    r->elements += t->n;
}

static void add_adapters(struct live_run *r, const char *path)
{
    struct br__file f;
    struct br__st_entry *e;
    const char *meta;
    uint64_t data;
    size_t n;
    must(br__file_open(&f, path, &err), &err);
    must(br__st_open(&r->arena, &f, &e, &n, &data, &meta, &err), &err);
    r->list = br__arena_alloc(&r->arena, n * sizeof *r->list);
    for (size_t i = 0; i < n; i++)
        add(r, e[i].name, e[i].ndim, e[i].shape);
    br__file_close(&f);
}

void live_open(struct live_run *r, const char *hf_dir, const char *adapters, int dtype)
{
    const struct br__source_opts o = {.hf_model = hf_dir, .threads = 1};
    memset(r, 0, sizeof *r);
    must(br__source_open_hf(&r->source, &o, &err), &err);
    if (adapters) {
        add_adapters(r, adapters);
    } else {
        r->list = br__arena_alloc(&r->arena, r->source->n_tensors * sizeof *r->list);
        for (size_t i = 0; i < r->source->n_tensors; i++)
            add(r, r->source->tensors[i].name, r->source->tensors[i].ndim,
                r->source->tensors[i].shape);
    }
    r->model.cfg = r->source->cfg;
    r->model.list = r->list;
    r->model.dtype = dtype;
    r->model.adapters = adapters != NULL;
}

void live_close(struct live_run *r)
{
    br__source_close(r->source);
    br__arena_free(&r->arena);
}

void live_fill(struct live_run *r, uint64_t seed)
{
    for (size_t i = 0; i < r->model.n; i++)
        for (int k = 0; k < BR__N_OPTIM_KINDS; k++)
            for (size_t e = 0; e < r->list[i].n; e++) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                r->list[i].state[k][e] = (float)((double)(seed >> 33) / (1u << 30) - 1) * 0.5f;
            }
}

int live_same(const struct live_run *a, const struct live_run *b)
{
    ck_assert_uint_eq(a->model.n, b->model.n);
    for (size_t i = 0; i < a->model.n; i++)
        for (int k = 0; k < BR__N_OPTIM_KINDS; k++)
            if (memcmp(a->list[i].state[k], b->list[i].state[k], a->list[i].n * sizeof(float)))
                return 0;
    return 1;
}

void saved_make(struct saved_state *s, int64_t step)
{
    const struct br__optim_group g = {.bias_correction = 1,
                                      .wd_mult = 1,
                                      .lr_mult = 1,
                                      .max_lr = 0.02,
                                      .min_lr = 0.002,
                                      .lr = 0.01,
                                      .beta1 = 0.9,
                                      .beta2 = 0.95,
                                      .eps = 1e-8,
                                      .weight_decay = 0.033,
                                      .step = step};
    static const char *const extra[][2] = {
        {"skipped", "3"}, {"loss_scale", "65536.0"}, {"data", "'abc'"}};
    memset(s, 0, sizeof *s);
    s->groups[0] = s->groups[1] = g;
    s->groups[1].wd_mult = s->groups[1].weight_decay = 0;
    s->scheduler = (struct br__optim_scheduler){.max_lr = 0.02,
                                                .min_lr = 0.002,
                                                .start_wd = 0.033,
                                                .end_wd = 0.033,
                                                .warmup_steps = 8,
                                                .decay_steps = 40,
                                                .wd_incr_steps = 40,
                                                .num_steps = 4 * step,
                                                .decay_style = "cosine",
                                                .wd_incr_style = "constant"};
    s->saved = (struct br__saved){
        .counters = {.step = step, .consumed_samples = 4 * step, .flops = 1e9, .do_train = 1},
        .train = {0, s->groups, 2, &s->scheduler},
        .extra = extra,
        .n_extra = 3};
}

static void print_line(void *ud, const char *text)
{
    (void)ud;
    printf("%s\n", text);
}

size_t count_differences(const char *a, const char *b)
{
    struct br__ckpt *x, *y;
    size_t n;
    must(br__ckpt_open(&x, a, &err), &err);
    must(br__ckpt_open(&y, b, &err), &err);
    must(br__ckpt_diff(x, y, 1, print_line, NULL, &n, &err), &err);
    br__ckpt_close(x);
    br__ckpt_close(y);
    return n;
}
