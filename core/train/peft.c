/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* peft.c - where adapters begin from: random numbers, a file, or a peft directory.
 *
 * Source of the distributions: ParallelLinearAdapter of megatron.bridge.peft.utils: xavier is
 * xavier_normal_, normal has a standard deviation of 0.2, kaiming is kaiming_uniform_ with a =
 * sqrt(5). */
#include "../format/format.h"
#include "ckpt.h"
#include "lora_set.h"
#include "run.h"
#include "state.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct br__lora_opts br__peft_opts(const struct br__run *run)
{
    const struct br__run_peft *p = &run->peft;

    return (struct br__lora_opts){.targets = p->targets,
                                  .excluded = p->excluded,
                                  .n_targets = p->n_targets,
                                  .n_excluded = p->n_excluded,
                                  .dim = p->dim,
                                  .alpha = (double)p->alpha,
                                  .dora = run->mode == BR__MODE_DORA,
                                  .bias_inside = p->bias_inside};
}

/* ---- random numbers -------------------------------------------------------------------------- */

/* A matrix [out, in] of an adapter; magnitudes are what the weights say. */
static int peft_fill(struct br__train *t, const struct br__trained *x, const char *how, float *to,
                     struct br_err *err)
{
    double in = (double)x->shape[1], out = (double)x->shape[0];
    uint64_t seed = t->run->seed;
    size_t n = br__trained_size(x);

    if (!how || !strcmp(how, "zero"))
        memset(to, 0, n * sizeof *to);
    else if (!strcmp(how, "xavier"))
        br__init_normal(seed, x->name, sqrt(2 / (in + out)), to, n);
    else if (!strcmp(how, "normal"))
        br__init_normal(seed, x->name, 0.2, to, n);
    else if (!strcmp(how, "kaiming"))
        br__init_uniform(seed, x->name, 1 / sqrt(in), to, n);
    else
        return br_fail(err, BR_E_UNSUPPORTED, "adapters cannot begin as '%s'", how);
    return BR_OK;
}

/* All tensors of a rank; where they come from fills `to` with the whole tensor, or leaves it alone
 * and says so: 0 in *fills. */
struct peft_source {
    int (*fill)(struct br__train *t, const void *arg, const struct br__trained *x, float *to,
                int *fills, struct br_err *err);
    const void *arg;
};

static int peft_begin_tensor(struct br__train *t, const struct peft_source *s,
                             const struct br__trained *x, struct br_err *err)
{
    int fills = 1;
    float *whole = br__alloc(br__trained_size(x) * sizeof *whole + 1);
    int rc = whole ? s->fill(t, s->arg, x, whole, &fills, err) : br__nomem(err, "for an adapter");

    if (!rc && fills)
        br__trained_put(x, whole);
    br__free(whole);
    return rc;
}

static int peft_begin_all(struct br__train *t, const struct peft_source *s, struct br_err *err)
{
    int rc = BR_OK;

    for (uint32_t k = 0; k < t->n_ranks; k++)
        for (size_t i = 0; i < t->ranks[k].n && !rc; i++)
            rc = peft_begin_tensor(t, s, &t->ranks[k].list[i], err);
    return rc;
}

/* What begins from has `n` tensors; a stage of a pipeline has not all of the adapter. */
static int peft_is_whole(const struct br__train *t, size_t n)
{
    return n == t->ranks[0].n || t->run->topo.size[BR_AXIS_PP] > 1;
}

static int fill_random(struct br__train *t, const void *arg, const struct br__trained *x, float *to,
                       int *fills, struct br_err *err)
{
    const struct br__run_peft *p = arg;
    int in = br__ends(x->name, ".linear_in.weight");

    *fills = in || br__ends(x->name, ".linear_out.weight");
    return *fills ? peft_fill(t, x, in ? p->a_init : p->b_init, to, err) : BR_OK;
}

/* ---- a file ---------------------------------------------------------------------------------- */

struct peft_file {
    struct br__arena arena;
    struct br__file file;
    struct br__st_entry *entries;
    size_t n;
    uint64_t data;
};

static const struct br__st_entry *peft_find(const struct peft_file *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (!strcmp(f->entries[i].name, name))
            return &f->entries[i];
    return NULL;
}

static int fill_from_file(struct br__train *t, const void *arg, const struct br__trained *x,
                          float *to, int *fills, struct br_err *err)
{
    const struct peft_file *f = arg;
    const struct br__st_entry *e = peft_find(f, x->name);
    char have[64], want[64];

    (void)t;
    (void)fills;
    if (!e)
        return br_fail(err, BR_E_PLAN, "it lacks '%s'", x->name);
    if (e->ndim != x->ndim || memcmp(e->shape, x->shape, (size_t)x->ndim * sizeof *x->shape) != 0)
        return br_fail(err, BR_E_PLAN, "'%s' is %s, expected %s", x->name,
                       br__shape_str(e->shape, e->ndim, have, sizeof have),
                       br__shape_str(x->shape, x->ndim, want, sizeof want));
    if (!br_dtype_is_float(e->dtype) || br_dtype_size(e->dtype) < 2)
        return br_fail(err, BR_E_UNSUPPORTED, "'%s' is of type %s, expected a float type", x->name,
                       br_dtype_torch(e->dtype));
    br_cast(to, BR_F32, f->file.map + f->data + e->begin, e->dtype, br__trained_size(x), 0);
    return BR_OK;
}

/* Tensors by Megatron's names: all of the adapter's, and no others. */
static int peft_read(struct br__train *t, const char *path, struct br_err *err)
{
    struct peft_file f = {0};
    const char *metadata;
    int rc = br__file_open(&f.file, path, err);

    if (!rc)
        rc = br__st_open(&f.arena, &f.file, &f.entries, &f.n, &f.data, &metadata, err);
    if (!rc)
        rc = peft_begin_all(t, &(struct peft_source){fill_from_file, &f}, err);
    if (!rc && !peft_is_whole(t, f.n))
        rc = br_fail(err, BR_E_PLAN, "it holds %zu tensors, the adapter has %zu", f.n,
                     t->ranks[0].n);
    if (rc)
        br_wrap(err, "adapter_init '%s'", path);
    br__file_close(&f.file);
    br__arena_free(&f.arena);
    return rc;
}

/* ---- a peft directory ------------------------------------------------------------------------ */

struct peft_tensors {
    struct br__live *list;
    size_t n;
};

static int fill_from_tensors(struct br__train *t, const void *arg, const struct br__trained *x,
                             float *to, int *fills, struct br_err *err)
{
    const struct peft_tensors *from = arg;
    size_t k = 0;

    (void)fills;
    while (k < from->n && strcmp(from->list[k].name, x->name) != 0)
        k++;
    if (k == from->n)
        return br_fail(err, BR_E_PLAN, "it has nothing for '%s'", x->name);
    const struct br__live *l = &from->list[k];
    if (l->ndim > x->ndim)
        return br_fail(err, BR_E_UNSUPPORTED,
                       "its adapters of '%s' differ between experts, and one for all of them is "
                       "trained here",
                       x->name);
    if (l->n != br__trained_size(x) || l->shape[0] != x->shape[0])
        return br_fail(err, BR_E_PLAN, "its rank is %" PRId64 ", peft_dim is %" PRId64,
                       br__ends(x->name, ".linear_in.weight") ? l->shape[0] : l->shape[l->ndim - 1],
                       t->run->peft.dim);
    memcpy(to, l->state[BR__OPTIM_MAIN], l->n * sizeof *to);
    return BR_OK;
}

static int peft_assign(struct br__train *t, const struct peft_tensors *from, struct br_err *err)
{
    int rc = peft_begin_all(t, &(struct peft_source){fill_from_tensors, from}, err);

    if (!rc && !peft_is_whole(t, from->n))
        rc = br_fail(err, BR_E_PLAN, "it has %zu tensors in Megatron's form, this run %zu", from->n,
                     t->ranks[0].n);
    return rc;
}

static int peft_import(struct br__train *t, const struct br__adapter *from, struct br_err *err)
{
    struct br__lora_set set;
    struct br__arena a = {0};
    struct peft_tensors list;
    int rc = br__lora_set_open(&set, br__llm_config(t->model), err);

    if (!rc)
        rc = br__lora_set_take(&set, from, err);
    if (!rc)
        rc = br__lora_set_tensors(&set, &a, &list.list, &list.n, err);
    if (!rc && set.alpha * (double)t->run->peft.dim != (double)(t->run->peft.alpha * set.dim))
        rc = br_fail(err, BR_E_CONFIG,
                     "its lora_alpha %g and r %" PRId64 " do not scale as peft_alpha %" PRId64
                     " and peft_dim %" PRId64,
                     set.alpha, set.dim, t->run->peft.alpha, t->run->peft.dim);
    if (!rc && t->run->mode == BR__MODE_DORA && set.has_bias &&
        set.bias_inside != t->run->peft.bias_inside)
        rc = br_fail(err, BR_E_CONFIG,
                     "its magnitudes scale %s the weights; dora_qkv_bias=%s begins with that",
                     set.bias_inside ? "the bias of query, key and value with" : "only",
                     set.bias_inside ? "inside" : "outside");
    if (!rc)
        rc = peft_assign(t, &list, err);
    br__lora_set_close(&set);
    br__arena_free(&a);
    return rc;
}

static int peft_open(struct br__train *t, const char *dir, struct br_err *err)
{
    struct br__adapter *from;
    int rc = br__adapter_open(&from, dir, err);

    if (rc)
        return rc;
    rc = peft_import(t, from, err);
    if (rc)
        br_wrap(err, "adapter_init '%s'", dir);
    br__adapter_close(from);
    return rc;
}

/* ---- beginning ------------------------------------------------------------------------------- */

int br__peft_begin(struct br__train *t, struct br_err *err)
{
    const char *init = t->run->peft.init;
    int rc;

    if (!br__run_has_adapters(t->run) || t->resumed)
        return BR_OK;
    if (!init)
        rc = peft_begin_all(t, &(struct peft_source){fill_random, &t->run->peft}, err);
    else
        rc = br__is_dir(init) ? peft_open(t, init, err) : peft_read(t, init, err);
    return rc ? rc : br__trainer_updated(t->trainer, 0, err);
}
