/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* peft_dir.c - directories that peft and transformers read: an adapter, and a model that has one in
 * its weights.  Each takes its name when it is complete. */
#include "ckpt.h"
#include "lora_set.h"

#include <stdlib.h>
#include <string.h>

#define CONFIG "config.json"
#define INDEX "model.safetensors.index.json"
#define ADAPTER_CONFIG "adapter_config.json"
#define ADAPTER_FILE "adapter_model.safetensors"

struct peft_dir {
    const struct br__peft_dest *o;
    struct br__arena arena;
    struct br__work work;
    const char *final;
};

/* ---- the destination ------------------------------------------------------------------------- */

static int is_known(const struct br__peft_dest *o, const char *name)
{
    return !strcmp(name, o->marker) || !strcmp(name, INDEX) || !strcmp(name, BR__WORK_INSIDE) ||
           br__ends(name, ".safetensors") || br__hf_is_side_file(name, 0);
}

/* Only what is such a directory, and nothing else, is replaced. */
static int may_replace(struct peft_dir *d, struct br_err *err)
{
    const struct br__peft_dest *o = d->o;
    char **names;
    size_t n = 0, has_marker = 0;

    if (!br__exists(d->final))
        return BR_OK;
    if (!br__is_dir(d->final))
        return br_fail(err, BR_E_EXISTS, "'%s' exists and is no directory", o->path);
    int rc = br__list_dir(&d->arena, d->final, &names, &n, err);
    if (!rc && n && !o->overwrite)
        rc = br_fail(err, BR_E_EXISTS, "'%s' is not empty; --overwrite replaces it", o->path);
    for (size_t i = 0; i < n && !rc; i++) {
        has_marker |= !strcmp(names[i], o->marker);
        if (!is_known(o, names[i]))
            rc = br_fail(err, BR_E_EXISTS,
                         "'%s' holds '%s', which --overwrite would delete: move it away", o->path,
                         names[i]);
    }
    if (!rc && n && !has_marker)
        rc = br_fail(err, BR_E_EXISTS,
                     "'%s' holds files but no %s; --overwrite replaces only such a directory",
                     o->path, o->marker);
    return rc;
}

static int dir_open(struct peft_dir *d, uint64_t bytes, struct br_err *err)
{
    char *final;
    int rc = br__path_abs(&d->arena, d->o->path, &final, err);

    if (rc)
        return rc;
    d->final = final;
    rc = br__path_overlap(&d->arena, d->o->source, final, err);
    if (!rc)
        rc = may_replace(d, err);
    if (!rc) /* nothing of an earlier try is resumed */
        rc = br__work_lock(&d->work, final, br__random(), d->o->sync, err);
    if (rc)
        return rc;
    d->work.replace = br__exists(final);
    rc = br__work_begin(&d->work, 0, err);
    return rc ? rc : br__work_space(&d->work, &d->work.tmp, bytes + (4u << 20), err);
}

static int dir_commit(struct peft_dir *d, struct br_err *err)
{
    char **names;
    size_t n = 0;
    int rc = br__dir_list(&d->arena, &d->work.tmp, &names, &n, err);
    const struct br__names all = {(const char **)names, n};

    return rc ? rc : br__work_commit(&d->work, &all, d->o->marker, err);
}

static void dir_close(struct peft_dir *d)
{
    br__work_close(&d->work);
    if (d->final)
        br__work_tidy(d->final);
    br__arena_free(&d->arena);
}

/* ---- an adapter ------------------------------------------------------------------------------ */

static int by_text(const void *x, const void *y)
{
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

/* Last names of the weights' modules, each once, sorted. */
static int put_targets(struct br__buf *b, const struct br__adapter *a, struct br_err *err)
{
    struct br__arena arena = {0};
    const char **names = br__arena_alloc(&arena, (a->n_pairs + 1) * sizeof *names);
    int failed = !names;

    for (size_t i = 0; i < a->n_pairs && !failed; i++) {
        const char *t = a->pairs[i].target;
        size_t n = strlen(t) - (br__ends(t, ".weight") ? strlen(".weight") : 0), from = n;
        while (from && t[from - 1] != '.')
            from--;
        failed = !(names[i] = br__arena_strndup(&arena, t + from, n - from));
    }
    if (!failed && a->n_pairs)
        qsort(names, a->n_pairs, sizeof *names, by_text);
    for (size_t i = 0, k = 0; i < a->n_pairs && !failed; i++)
        if (!i || strcmp(names[i], names[i - 1]) != 0) {
            br__buf_puts(b, k++ ? ",\n    " : "\n    ");
            br__buf_json_str(b, names[i]);
        }
    br__arena_free(&arena);
    return failed ? br__nomem(err, "writing a directory") : BR_OK;
}

/* The keys that Megatron Bridge writes. */
static int put_config(const struct peft_dir *d, const struct br__adapter *a, const char *base,
                      struct br_err *err)
{
    struct br__buf b = {0};
    br__buf_puts(&b, "{\n  \"peft_type\": \"LORA\",\n  \"auto_mapping\": null,\n"
                     "  \"base_model_name_or_path\": ");
    br__buf_json_str(&b, base);
    br__buf_puts(&b, ",\n  \"bias\": \"none\",\n  \"fan_in_fan_out\": false,\n"
                     "  \"inference_mode\": true,\n  \"init_lora_weights\": true,\n"
                     "  \"lora_alpha\": ");
    br__peft_put_alpha(&b, br__peft_alpha(a));
    br__buf_printf(&b,
                   ",\n  \"lora_dropout\": 0.0,\n  \"modules_to_save\": null,\n  \"r\": %lld,\n"
                   "  \"rank_pattern\": {},\n  \"alpha_pattern\": {},\n  \"target_modules\": [",
                   (long long)a->pairs[0].a->rows);
    int rc = put_targets(&b, a, err);
    br__buf_printf(&b,
                   "\n  ],\n%s  \"task_type\": \"CAUSAL_LM\",\n  \"use_dora\": %s,\n"
                   "  \"use_rslora\": false\n}\n",
                   a->bias_inside ? "  \"" BR__ADAPTER_BIAS_INSIDE "\": true,\n" : "",
                   a->pairs[0].magnitude ? "true" : "false");
    if (!rc && b.failed)
        rc = br__nomem(err, "writing a directory");
    if (!rc)
        rc = br__write_in(&d->work.tmp, ADAPTER_CONFIG, b.p, b.n, d->o->sync, err);
    br__buf_free(&b);
    return rc;
}

static uint64_t source_bytes(const struct br__source *s)
{
    return (uint64_t)s->rows * (uint64_t)s->cols * br_dtype_size(s->dtype);
}

static int by_source_name(const void *x, const void *y)
{
    return strcmp((*(const struct br__source *const *)x)->name,
                  (*(const struct br__source *const *)y)->name);
}

static int put_tensors(struct peft_dir *d, const struct br__adapter *a, struct br_err *err)
{
    size_t n = a->n_sources;
    const struct br__source **by_name = br__arena_alloc(&d->arena, (n + 1) * sizeof *by_name);
    struct br__st_entry *e = br__arena_alloc(&d->arena, (n + 1) * sizeof *e);
    struct br__buf header = {.max = BR__ST_HEADER_MAX};
    struct br__out out;

    if (!by_name || !e)
        return br__nomem(err, "writing a directory");
    for (size_t i = 0; i < n; i++)
        by_name[i] = &a->sources[i];
    qsort(by_name, n, sizeof *by_name, by_source_name);
    for (size_t i = 0; i < n; i++) {
        e[i] = (struct br__st_entry){
            .name = by_name[i]->name, .dtype = by_name[i]->dtype, .ndim = by_name[i]->ndim};
        memcpy(e[i].shape, by_name[i]->shape, sizeof e[i].shape);
    }
    if (br__st_header(&header, e, n, "{\"format\":\"pt\"}")) {
        br__buf_free(&header);
        return br__nomem(err, "writing a directory");
    }
    int rc = br__out_open_in(&out, &d->work.tmp, ADAPTER_FILE, 0, d->o->sync, err);
    if (!rc) {
        rc = br__out_write(&out, header.p, header.n, err);
        for (size_t i = 0; i < n && !rc; i++)
            rc = br__out_write(&out, by_name[i]->data, (size_t)source_bytes(by_name[i]), err);
        if (rc)
            br__out_abort(&out);
        else
            rc = br__out_finish(&out, err);
    }
    br__buf_free(&header);
    return rc;
}

int br__peft_write(const struct br__peft_dest *o, const struct br__adapter *a, const char *base,
                   struct br_err *err)
{
    struct peft_dir d = {.o = o};
    uint64_t bytes = 0;

    for (size_t i = 0; i < a->n_sources; i++)
        bytes += source_bytes(&a->sources[i]);
    int rc = dir_open(&d, bytes, err);
    if (!rc)
        rc = put_tensors(&d, a, err);
    if (!rc)
        rc = put_config(&d, a, base, err);
    if (!rc)
        rc = dir_commit(&d, err);
    dir_close(&d);
    return rc;
}

/* ---- a merged model -------------------------------------------------------------------------- */

struct merger {
    struct peft_dir d;
    const struct br__ckpt *model;
    const struct br__adapter *a;
    struct br__progress progress;
};

/* Every weight that the adapter changes is there, and can be. */
static int check_targets(const struct merger *m, struct br_err *err)
{
    for (size_t i = 0; i < m->a->n_pairs; i++) {
        const struct br__adapter_pair *p = &m->a->pairs[i];
        const struct br__tensor *t = br__ckpt_find(m->model, p->target);
        if (!t)
            return br_fail(err, BR_E_PLAN, "the adapter changes '%s', which the model has not",
                           p->target);
        if (t->ndim != 2 || (t->dtype != BR_F32 && t->dtype != BR_BF16 && t->dtype != BR_F16))
            return br_fail(err, BR_E_UNSUPPORTED,
                           "'%s' is %s with %d axes; an adapter can be added to a matrix of "
                           "float32, bfloat16 or float16",
                           t->name, br_dtype_torch(t->dtype), t->ndim);
        if (t->shape[0] != p->b->rows || t->shape[1] != p->a->cols)
            return br_fail(err, BR_E_PLAN,
                           "the adapter of '%s' is for [%lld, %lld], the weight is [%lld, %lld]",
                           t->name, (long long)p->b->rows, (long long)p->a->cols,
                           (long long)t->shape[0], (long long)t->shape[1]);
    }
    return BR_OK;
}

/* A tensor of the model, in float32; the caller frees it. */
static float *merge_floats(const struct merger *m, const struct br__tensor *t, struct br_err *err)
{
    size_t n = (size_t)(t->bytes / br_dtype_size(t->dtype));
    float *w = br__alloc(n * sizeof *w);
    void *raw = br__alloc((size_t)t->bytes);
    int rc = w && raw ? br__ckpt_read(m->model, t, 0, raw, (size_t)t->bytes, err)
                      : br__nomem(err, "for a weight");

    if (!rc)
        br_cast(w, BR_F32, raw, t->dtype, n, 0);
    br__free(raw);
    if (!rc)
        return w;
    br__free(w);
    return NULL;
}

/* A weight, or the bias of one whose magnitudes scale it. */
static int merge_tensor(struct merger *m, const struct br__tensor *t,
                        const struct br__adapter_pair *p, struct br__out *out, struct br_err *err)
{
    const struct br__tensor *weight = br__ckpt_find(m->model, p->target);
    size_t n = (size_t)(t->bytes / br_dtype_size(t->dtype));
    float *w = merge_floats(m, weight, err), *bias = NULL;
    void *raw = br__alloc((size_t)t->bytes);
    int rc = !w ? BR_E_NOMEM : raw ? BR_OK : br__nomem(err, "for a weight");

    if (!rc && t != weight && !(bias = merge_floats(m, t, err)))
        rc = BR_E_NOMEM;
    if (!rc && bias && n != (size_t)weight->shape[0])
        rc = br_fail(err, BR_E_PLAN, "'%s' has %zu elements, '%s' %lld rows", t->name, n,
                     weight->name, (long long)weight->shape[0]);
    if (!rc)
        rc = br__adapter_merge(p, w, weight->shape[0], weight->shape[1], bias, err);
    if (!rc) {
        br_cast(raw, t->dtype, bias ? bias : w, BR_F32, n, 0);
        rc = br__out_write(out, raw, (size_t)t->bytes, err);
    }
    br__free(w);
    br__free(bias);
    br__free(raw);
    return rc;
}

static int copy_tensor(struct merger *m, const struct br__tensor *t, struct br__out *out,
                       struct br_err *err)
{
    int rc = BR_OK;

    for (uint64_t off = 0; off < t->bytes && !rc; off += BR__OUT_BUF) {
        size_t n = (size_t)BR__MIN((uint64_t)BR__OUT_BUF, t->bytes - off);
        unsigned char *dst = br__out_reserve(out, n, err);
        rc = dst ? br__ckpt_read(m->model, t, off, dst, n, err) : out->failed;
        if (!rc)
            br__out_commit(out, n);
    }
    return rc;
}

static int merge_tensors(struct merger *m, const struct br__tensor *t, size_t n,
                         struct br__out *out, struct br_err *err)
{
    int rc = BR_OK;

    for (size_t i = 0; i < n && !rc; i++) {
        const struct br__adapter_pair *p = br__adapter_find(m->a, t[i].name);
        if (!p)
            p = br__adapter_of_bias(m->a, t[i].name);
        rc = p ? merge_tensor(m, &t[i], p, out, err) : copy_tensor(m, &t[i], out, err);
        br__progress_add(&m->progress, t[i].bytes);
    }
    return rc;
}

/* A file of the model with the same tensors in the same order. */
static int merge_file(void *arg, size_t file, int worker, struct br_err *err)
{
    struct merger *m = arg;
    const struct br__ckpt *ck = m->model;
    struct br__arena a = {0};
    struct br__buf header = {.max = BR__ST_HEADER_MAX};
    struct br__out out;
    size_t first = 0, n = 0;

    (void)worker;
    while (first < ck->n_tensors && ck->tensors[first].file != file)
        first++;
    while (first + n < ck->n_tensors && ck->tensors[first + n].file == file)
        n++;
    struct br__st_entry *e = br__arena_alloc(&a, (n + 1) * sizeof *e);
    for (size_t i = 0; e && i < n; i++) {
        const struct br__tensor *t = &ck->tensors[first + i];
        e[i] = (struct br__st_entry){.name = t->name, .dtype = t->dtype, .ndim = t->ndim};
        memcpy(e[i].shape, t->shape, sizeof e[i].shape);
    }
    int rc = !e || br__st_header(&header, e, n, ck->hf->metadata_json[file])
                 ? br__nomem(err, "writing a directory")
                 : BR_OK;
    if (!rc)
        rc = br__out_open_in(&out, &m->d.work.tmp, br__path_base(ck->file_names[file]), 0,
                             m->d.o->sync, err);
    if (!rc) {
        rc = br__out_write(&out, header.p, header.n, err);
        if (!rc)
            rc = merge_tensors(m, ck->tensors + first, n, &out, err);
        if (rc)
            br__out_abort(&out);
        else
            rc = br__out_finish(&out, err);
    }
    br__buf_free(&header);
    br__arena_free(&a);
    return rc;
}

/* config.json, the index if there is one, and what travels along. */
static int copy_others(struct merger *m, struct br_err *err)
{
    const struct br__ckpt *ck = m->model;
    const char *config = ck->hf->config_text, *index = br__path_join(&m->d.arena, ck->dir, INDEX);
    struct br__side side;
    int sync = m->d.o->sync, rc = br__side_find(&m->d.arena, ck->dir, 0, &side, err);

    if (!rc)
        rc = br__side_copy(&side, &m->d.work.tmp, sync, err);
    if (!rc && !index)
        rc = br__nomem(err, "writing a directory");
    if (!rc && ck->hf->has_index)
        rc = br__copy_in(&m->d.work.tmp, INDEX, index, sync, err);
    return rc ? rc : br__write_in(&m->d.work.tmp, CONFIG, config, strlen(config), sync, err);
}

int br__peft_write_merged(const struct br__peft_dest *o, const struct br__ckpt *model,
                          const struct br__adapter *a, const struct br__peft_job *job,
                          struct br_err *err)
{
    struct merger m = {.d.o = o, .model = model, .a = a};
    uint64_t bytes = 0;

    for (size_t i = 0; i < model->n_tensors; i++)
        bytes += model->tensors[i].bytes;
    int rc = check_targets(&m, err);
    if (!rc)
        rc = dir_open(&m.d, bytes, err);
    if (!rc) {
        br__progress_init(&m.progress, job->listener, "merging", bytes);
        rc = br__pool_run(job->threads, model->n_files, merge_file, &m, err);
        br__progress_end(&m.progress);
    }
    if (!rc)
        rc = br__ckpt_settle(model, err);
    if (!rc)
        rc = copy_others(&m, err);
    if (!rc)
        rc = dir_commit(&m.d, err);
    dir_close(&m.d);
    return rc;
}
