/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* weights.c - a model's tensors under their Hugging Face names.
 *
 * Where a model's source has the values in memory (Hugging Face files, mapped) they are used where
 * they lie: no load phase, no second copy.  Others (FP8 blocks, the rows of a Megatron checkpoint,
 * which lie in another order) are read into memory once. */
#include "weights.h"
#include <string.h>

static size_t source_bytes(const struct br__source *s)
{
    return (size_t)(s->rows * s->cols) * br_dtype_size(s->dtype);
}

/* The memory that load made, if it did. */
static void weights_free(struct br__weights *w, const struct br__source *s)
{
    if (w->unread)
        br__unreserve(w->owned[s->index], source_bytes(s));
    else
        br__free(w->owned[s->index]);
    w->owned[s->index] = NULL;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int list_sources(struct br__weights *w, struct br_err *err)
{
    size_t n = w->src->n_tensors;
    w->sources = br__calloc(n + 1, sizeof *w->sources);
    w->owned = br__calloc(n + 1, sizeof *w->owned);
    if (!w->sources || !w->owned || br__map_init(&w->by_name, n))
        return br__nomem(err, "for the model's weights");
    for (size_t i = 0; i < n; i++) {
        const struct br__source_tensor *t = &w->src->tensors[i];
        struct br__source *s = &w->sources[i];
        *s = (struct br__source){.name = t->name, .dtype = t->dtype, .index = (uint32_t)i};
        br__source_shape(s, t->ndim, t->shape);
        if (br__map_put(&w->by_name, s->name, s->index))
            return br__nomem(err, "for the model's weights");
        w->n_sources++;
    }
    return 0;
}

/* Whether `name` is the output layer of a model that computes with the embedding instead: a file
 * may hold a copy all the same. */
static int is_tied_output(const struct br__weights *w, const char *name)
{
    const struct br_map *embedding, *output;
    br__tied_rules(w->cfg->arch, &embedding, &output);
    return !w->src->untied && output && strcmp(name, output->hf) == 0;
}

void br__weights_take_adapter(struct br__weights *w, struct br__adapter *a)
{
    w->adapter = a;
    for (size_t i = 0; i < a->n_sources; i++)
        a->sources[i].index = (uint32_t)(w->n_sources + i);
}

static int open_adapter(struct br__weights *w, const struct br__weights_opts *o, struct br_err *err)
{
    struct br__adapter *a;
    int rc = br__adapter_open(&a, o->adapter, err);
    if (rc)
        return rc;
    br__weights_take_adapter(w, a);
    w->adapter->merge = o->merge_adapter;
    for (size_t i = 0; i < w->adapter->n_pairs; i++) {
        const struct br__adapter_pair *p = &w->adapter->pairs[i];
        const struct br__source *s = br__weights_find(w, p->target);
        if (is_tied_output(w, p->target))
            return br_fail(
                err, BR_E_UNSUPPORTED,
                "adapter '%s' changes '%s', which this model ties to its embedding: there "
                "is no weight of its own to change; merge it with peft, which unties them",
                o->adapter, p->target);
        if (!s)
            return br_fail(err, BR_E_PLAN, "adapter '%s' changes '%s', which the model has not",
                           o->adapter, p->target);
        if (s->ndim != 2 || s->rows != p->b->rows || s->cols != p->a->cols)
            return br_fail(err, BR_E_PLAN,
                           "adapter '%s' changes '%s' as [%lld, %lld], the model has [%lld, %lld]",
                           o->adapter, p->target, (long long)p->b->rows, (long long)p->a->cols,
                           (long long)s->rows, (long long)s->cols);
    }
    return 0;
}

int br__weights_open(struct br__weights **out, const struct br__weights_opts *o, struct br_err *err)
{
    *out = NULL;
    if (!o->source && !o->hf_model && !o->megatron_path)
        return br_fail(err, BR_E_USAGE, "no model; give --hf-model or --megatron-path");
    struct br__weights *w = br__calloc(1, sizeof *w);
    if (!w) {
        br__source_close(o->source);
        return br__nomem(err, "for the model's weights");
    }
    pthread_mutex_init(&w->lock, NULL);
    w->src = o->source;
    const struct br__source_opts source = {.hf_model = o->hf_model,
                                           .megatron_path = o->megatron_path,
                                           .plugin = o->plugin,
                                           .threads = o->threads,
                                           .no_verify = o->no_verify,
                                           .listener = o->listener};
    w->threads = o->threads;
    w->unread = o->unread;
    int rc = 0;
    if (!w->src)
        rc = o->megatron_path ? br__source_open_td(&w->src, &source, err)
                              : br__source_open_hf(&w->src, &source, err);
    if (!rc) {
        w->cfg = w->src->cfg;
        rc = list_sources(w, err);
    }
    if (!rc && o->adapter)
        rc = open_adapter(w, o, err);
    if (rc) {
        br__weights_close(w);
        return rc;
    }
    *out = w;
    return 0;
}

void br__weights_close(struct br__weights *w)
{
    if (!w)
        return;
    for (size_t i = 0; w->owned && i < w->n_sources; i++)
        weights_free(w, &w->sources[i]);
    br__free(w->owned);
    br__free(w->sources);
    br__map_free(&w->by_name);
    br__adapter_close(w->adapter);
    br__source_close(w->src);
    pthread_mutex_destroy(&w->lock);
    br__free(w);
}

struct br__source *br__weights_find(const struct br__weights *w, const char *name)
{
    uint32_t i = br__map_get(&w->by_name, name);
    return i == BR__NOT_FOUND ? NULL : &w->sources[i];
}

/* ---- loading --------------------------------------------------------------------------------- */

struct fill {
    struct br__weights *w;
    const struct br__source *s;
    unsigned char *dst;
    uint64_t bytes;
};
#define FILL_TASK (64 * BR__READ_BLOCK) /* bytes that share a buffer */

static int fill_chunk(const struct fill *f, uint64_t off, struct br__scratch *scratch,
                      struct br_err *err)
{
    const struct br__model_source *src = f->w->src;
    size_t n = (size_t)BR__MIN(f->bytes - off, (uint64_t)BR__READ_BLOCK);
    return src->ops->read(src, &src->tensors[f->s->index], off, f->dst + off, n, scratch, err);
}

static int fill_task(void *arg, size_t i, int worker, struct br_err *err)
{
    const struct fill *f = arg;
    (void)worker;
    uint64_t from = (uint64_t)i * FILL_TASK, to = BR__MIN(from + FILL_TASK, f->bytes);
    struct br__scratch scratch = {br__alloc(BR__OUT_BUF)};
    int rc = scratch.buf ? 0 : br__nomem(err, "for the model's weights");
    for (uint64_t off = from; off < to && !rc; off += BR__READ_BLOCK)
        rc = fill_chunk(f, off, &scratch, err);
    br__free(scratch.buf);
    return rc;
}

static int weights_fill(struct br__weights *w, const struct br__source *s, void *dst,
                        uint64_t bytes, struct br_err *err)
{
    struct fill f = {w, s, dst, bytes};
    return br__pool_run(w->threads, (size_t)((bytes + FILL_TASK - 1) / FILL_TASK), fill_task, &f,
                        err);
}

/* The values of a tensor as they are stored, in float32; the caller frees them. */
static float *weights_floats(struct br__weights *w, const struct br__source *s, struct br_err *err)
{
    size_t n = (size_t)(s->rows * s->cols);
    int dtype = w->src->tensors[s->index].dtype;
    const void *data = w->src->ops->map(w->src, &w->src->tensors[s->index]);
    void *raw = data ? NULL : br__alloc(n * br_dtype_size(dtype));
    float *f = br__alloc(n * sizeof *f);
    int rc = f && (data || raw) ? 0 : br__nomem(err, "for the model's weights");
    if (!rc && !data)
        rc = weights_fill(w, s, raw, n * br_dtype_size(dtype), err);
    if (!rc)
        br_cast(f, BR_F32, data ? data : raw, dtype, n, 0);
    br__free(raw);
    if (!rc)
        return f;
    br__free(f);
    return NULL;
}

/* The merged weight in float32, in place of the stored one; or the bias of one whose magnitudes
 * scale it. */
static int weights_merge(struct br__weights *w, struct br__source *s,
                         const struct br__adapter_pair *pair, int is_bias, struct br_err *err)
{
    const struct br__source *weight = is_bias ? br__weights_find(w, pair->target) : s;
    size_t n = (size_t)(s->rows * s->cols);
    if (!weight || (is_bias && s->cols != weight->rows))
        return br_fail(err, BR_E_PLAN, "it is not a bias of '%s'", pair->target);
    float *f = weights_floats(w, weight, err),
          *bias = is_bias && f ? weights_floats(w, s, err) : NULL;
    int rc = f && (bias || !is_bias) ? 0 : BR_E_NOMEM;
    if (!rc)
        rc = br__adapter_merge(pair, f, weight->rows, weight->cols, bias, err);
    if (is_bias) {
        br__free(f);
        f = bias;
    }
    if (rc) {
        br__free(f);
        return rc;
    }
    w->owned[s->index] = f;
    w->owned_bytes += n * sizeof *f;
    s->dtype = BR_F32;
    s->data = f;
    return 0;
}

static int weights_load(struct br__weights *w, struct br__source *s, struct br_err *err)
{
    const struct br__adapter *a = w->adapter && w->adapter->merge ? w->adapter : NULL;
    const struct br__adapter_pair *pair = a ? br__adapter_find(a, s->name) : NULL,
                                  *scales = a ? br__adapter_of_bias(a, s->name) : NULL;
    if (pair || scales)
        return weights_merge(w, s, pair ? pair : scales, scales != NULL, err);
    const void *data = w->src->ops->map(w->src, &w->src->tensors[s->index]);
    size_t bytes = source_bytes(s);
    if (!data) {
        data = w->owned[s->index] = w->unread ? br__reserve(bytes) : br__alloc(bytes);
        if (!data)
            return br__nomem(err, "for the model's weights");
        w->owned_bytes += bytes;
        int rc = w->unread ? 0 : weights_fill(w, s, w->owned[s->index], bytes, err);
        if (rc)
            return rc;
    }
    s->data = data;
    return 0;
}

int br__weights_load(struct br__weights *w, struct br__source *s, struct br_err *err)
{
    int rc = 0;
    pthread_mutex_lock(&w->lock);
    if (!s->data && (rc = weights_load(w, s, err)))
        br_wrap(err, "tensor '%s'", s->name);
    pthread_mutex_unlock(&w->lock);
    return rc;
}

int br__weights_find_values(struct br__weights *w, struct br__source *s, struct br_err *err)
{
    int rc = 0;
    pthread_mutex_lock(&w->lock);
    if (!s->data && !w->src->ops->map(w->src, &w->src->tensors[s->index]))
        s->by_blocks = 1;
    else if (!s->data && (rc = weights_load(w, s, err)))
        br_wrap(err, "tensor '%s'", s->name);
    pthread_mutex_unlock(&w->lock);
    return rc;
}

int br__weights_unload(struct br__weights *w, struct br__source *s)
{
    if (w->adapter || !w->owned[s->index])
        return 0;
    w->owned_bytes -= source_bytes(s);
    weights_free(w, s);
    s->data = NULL;
    return 1;
}

/* ---- health ---------------------------------------------------------------------------------- */

static int all_finite(const void *data, size_t n, int dtype)
{
    float f[1024];
    size_t size = br_dtype_size(dtype);
    for (size_t i = 0; i < n; i += BR_COUNTOF(f)) {
        size_t m = BR__MIN(n - i, BR_COUNTOF(f));
        br_cast(f, BR_F32, (const char *)data + i * size, dtype, m, 0);
        if (br__first_not_finite(f, m) < m)
            return 0;
    }
    return 1;
}

/* Values that cannot be read count as finite: this looks for the reason of another error. */
static int blocks_finite(const struct br__weights *w, const struct br__source *s)
{
    const struct br__model_source *src = w->src;
    struct br__scratch scratch = {br__alloc(BR__OUT_BUF)};
    unsigned char *block = br__alloc(BR__READ_BLOCK);
    size_t size = br_dtype_size(s->dtype), bytes = (size_t)(s->rows * s->cols) * size;
    int finite = 1;
    for (size_t at = 0, n; scratch.buf && block && finite && at < bytes; at += n) {
        n = BR__MIN(bytes - at, (size_t)BR__READ_BLOCK);
        if (src->ops->read(src, &src->tensors[s->index], at, block, n, &scratch, NULL))
            break;
        finite = all_finite(block, n / size, s->dtype);
    }
    br__free(block);
    br__free(scratch.buf);
    return finite;
}

static int is_finite(const struct br__weights *w, const struct br__source *s)
{
    if (!br_dtype_is_float(s->dtype))
        return 1;
    if (s->data)
        return all_finite(s->data, (size_t)(s->rows * s->cols), s->dtype);
    return !s->by_blocks || blocks_finite(w, s);
}

const char *br__weights_not_finite(struct br__weights *w)
{
    for (size_t i = 0; i < w->n_sources; i++)
        if (!is_finite(w, &w->sources[i]))
            return w->sources[i].name;
    for (size_t i = 0; w->adapter && i < w->adapter->n_sources; i++)
        if (!is_finite(w, &w->adapter->sources[i]))
            return w->adapter->sources[i].name;
    return NULL;
}
