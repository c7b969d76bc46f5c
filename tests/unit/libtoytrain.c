/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libtoytrain.c - see libtoytrain.h. */
#include "libtoytrain.h"
#include "libadamw.h"
#include "librun.h"
#include "train/optim.h"

#include <string.h>

static struct br_err err;

static float *floats(struct toy *t, size_t n)
{
    float *p = br__arena_alloc(&t->arena, n * sizeof *p);
    ck_assert(p != NULL);
    return p;
}

static void take_tensor(struct toy *t, const struct br__ckpt *ck, const struct br__tensor *from)
{
    struct toy_tensor *to = &t->tensors[t->n];
    size_t size = br_dtype_size(from->dtype);
    void *stored = br__alloc((size_t)from->bytes);
    *to = (struct toy_tensor){.name = br__arena_strdup(&t->arena, from->name),
                              .ndim = from->ndim,
                              .n = (size_t)from->bytes / size};
    memcpy(to->shape, from->shape, sizeof to->shape);
    to->param = floats(t, to->n);
    to->m = floats(t, to->n);
    to->v = floats(t, to->n);
    to->grad = floats(t, to->n);
    must(br__ckpt_read(ck, from, 0, stored, (size_t)from->bytes, &err), &err);
    br_cast(to->param, BR_F32, stored, from->dtype, to->n, 0);
    br__free(stored);
    t->grads[t->n++] = (struct br__grad_span){to->grad, to->n};
}

static const char *file_of(struct toy *t, const char *name)
{
    return br__path_join(&t->arena, t->dir, name);
}

static void write_weights(struct toy *t)
{
    struct br__st_entry *e = br__arena_alloc(&t->arena, t->n * sizeof *e);
    struct br__buf b = {0};
    for (size_t i = 0; i < t->n; i++) {
        e[i] = (struct br__st_entry){
            .name = t->tensors[i].name, .dtype = BR_F32, .ndim = t->tensors[i].ndim};
        memcpy(e[i].shape, t->tensors[i].shape, sizeof e[i].shape);
    }
    must(br__st_header(&b, e, t->n, NULL), &err);
    for (size_t i = 0; i < t->n; i++)
        br__buf_put(&b, t->tensors[i].param, t->tensors[i].n * sizeof(float));
    ck_assert_int_eq(b.failed, 0);
    must(br__write_file(file_of(t, "model.safetensors"), b.p, b.n, 0, &err), &err);
    br__buf_free(&b);
}

void toy_open(struct toy *t, const char *hf_dir)
{
    struct br__ckpt *ck;
    memset(t, 0, sizeof *t);
    must(br__ckpt_open(&ck, hf_dir, &err), &err);
    t->tensors = br__arena_alloc(&t->arena, ck->n_tensors * sizeof *t->tensors);
    t->grads = br__arena_alloc(&t->arena, ck->n_tensors * sizeof *t->grads);
    make_temp_dir(t->dir, sizeof t->dir, "toy");
    for (size_t i = 0; i < ck->n_tensors; i++)
        take_tensor(t, ck, &ck->tensors[i]);
    br__ckpt_close(ck);
    struct br__dir to;
    must(br__dir_open(&to, t->dir, &err), &err);
    must(br__copy_in(&to, "config.json", br__path_join(&t->arena, hf_dir, "config.json"), 0, &err),
         &err);
    br__dir_close(&to);
    write_weights(t);
}

void toy_close(struct toy *t)
{
    br__llm_close(t->model);
    must(br__remove_tree(t->dir, &err), &err);
    br__arena_free(&t->arena);
}

void toy_zero_grads(struct toy *t)
{
    for (size_t i = 0; i < t->n; i++)
        memset(t->tensors[i].grad, 0, t->tensors[i].n * sizeof(float));
}

double toy_backward(struct toy *t, const int32_t *ids, const int32_t *labels, int64_t n,
                    double weight)
{
    struct br__trace tr;
    const struct br__trace_opts o = {.ids = &ids,
                                     .labels = labels ? &labels : NULL,
                                     .n_batches = 1,
                                     .n = n,
                                     .flags = BR__TRACE_GRADS};
    if (!t->model)
        t->model = open_model(t->dir, NULL, 0);
    must(br__llm_trace(t->model, &o, &tr, &err), &err);
    double loss = br__trace_find(&tr, "loss")->data[0];
    for (size_t i = 0; i < t->n; i++) {
        struct toy_tensor *x = &t->tensors[i];
        const struct br__named *g =
            br__trace_find(&tr, br__arena_printf(&t->arena, "grad.%s", x->name));
        ck_assert_msg(g && br__named_elems(g) == x->n, "no gradient of '%s'", x->name);
        for (size_t k = 0; k < x->n; k++)
            x->grad[k] += (float)weight * g->data[k];
    }
    br__trace_free(&tr);
    return loss;
}

void toy_step(struct toy *t, const struct br__adamw_opts *o)
{
    for (size_t i = 0; i < t->n; i++) {
        struct toy_tensor *x = &t->tensors[i];
        struct br__adamw_opts mine = *o;
        if (!br__is_decayed(x->name, x->ndim, 0))
            mine.weight_decay = 0;
        struct br__adamw h = br__adamw_make(&mine);
        const struct br__adamw_arrays arrays = {
            .n = x->n, .param = x->param, .m = x->m, .v = x->v, .grad = x->grad};
        must(br__adamw_step(cpu_device(2), &h, &arrays, &err), &err);
    }
    br__llm_close(t->model);
    t->model = NULL;
    write_weights(t);
}

const struct toy_tensor *toy_find(const struct toy *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->tensors[i].name, name) == 0)
            return &t->tensors[i];
    return NULL;
}
