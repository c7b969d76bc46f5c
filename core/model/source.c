/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* source.c - a Hugging Face model to be read, and how its configuration is found. */
#include "model.h"

#include <string.h>

/* ---- configuration --------------------------------------------------------------------------- */

int br__config_from_text(struct br__arena *a, struct br__registry *r, const char *text, size_t n,
                         struct br_config *cfg, struct br_err *err)
{
    br__json *json;
    const struct br__arch *arch = NULL;
    int rc = br__json_parse(&json, text, n, err);
    if (rc) {
        br_wrap(err, "config.json");
        return rc;
    }
    const char *type = br__json_str(br__json_get(json, "model_type"), NULL);
    const char *class = br__json_str(br__json_first(br__json_get(json, "architectures")), NULL);
    if (!type && !class)
        rc = br_fail(err, BR_E_CONFIG, "config.json has neither 'architectures' nor 'model_type'");
    if (!rc)
        rc = br__registry_find(r, type, class, &arch, err);
    if (!rc)
        rc = br__config_from_json(a, arch, json, cfg, err);
    br__json_free(json);
    return rc;
}

int br__config_of_ckpt(struct br__arena *a, struct br__registry *r, const struct br__ckpt *hf,
                       struct br_config *cfg, struct br_err *err)
{
    if (!hf->hf->config_text)
        return br_fail(err, BR_E_NOTFOUND, "'%s' has no config.json", hf->dir);
    int rc = br__config_from_text(a, r, hf->hf->config_text, hf->hf->config_size, cfg, err);
    if (rc)
        br_wrap(err, "'%s'", hf->dir);
    return rc;
}

void br__config_settle_dtype(struct br_config *cfg, const struct br__ckpt *src)
{
    static const int candidates[] = {BR_BF16, BR_F32, BR_F16};
    uint64_t bytes[BR_N_DTYPES] = {0};
    int best = BR_BF16;
    if (cfg->dtype != BR_NONE)
        return;
    for (size_t i = 0; i < src->n_tensors; i++)
        bytes[src->tensors[i].dtype] += src->tensors[i].bytes;
    for (size_t i = 0; i < BR_COUNTOF(candidates); i++)
        if (bytes[candidates[i]] > bytes[best])
            best = candidates[i];
    cfg->dtype = best;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Check before a download that may take hours whether the model can be used.  The commit that was
 * checked is the one that is downloaded, even if its branch moves meanwhile. */
static int try_config(struct br__arena *a, const char **model, const struct br__hf_how *how,
                      struct br_err *err)
{
    struct br_config cfg = {0};
    struct br__ckpt *hf = NULL;
    int rc = br__hf_open_model(&hf, *model, BR__HF_CONFIG_ONLY, how->hub, err);
    if (!rc)
        rc = br__config_of_ckpt(a, how->registry, hf, &cfg, err);
    if (!rc) {
        *model = br__arena_printf(a, "%.*s@%s", (int)strcspn(*model, "@"), *model,
                                  br__path_base(hf->dir));
        rc = *model ? BR_OK : br__nomem(err, "opening the model");
    }
    br__ckpt_close(hf);
    return rc;
}

int br__open_hf_model(struct br__arena *a, const char *model, const struct br__hf_how *how,
                      struct br__ckpt **out, struct br_config *cfg, struct br_err *err)
{
    *out = NULL;
    int rc = br__is_dir(model) ? BR_OK : try_config(a, &model, how, err);
    if (!rc)
        rc = br__hf_open_model(out, model, how->flags, how->hub, err);
    return rc ? rc : br__config_of_ckpt(a, how->registry, *out, cfg, err);
}

/* ---- the source ------------------------------------------------------------------------------ */

struct hf_source {
    struct br__model_source base;
    struct br__arena arena;
    struct br_config cfg;
    struct br__ckpt *ckpt;
    struct br__binding binding;
};

static const struct hf_source *hf_of(const struct br__model_source *s)
{
    return (const struct hf_source *)s;
}

static int hf_read(const struct br__model_source *s, const struct br__source_tensor *t,
                   uint64_t off, void *dst, size_t n, struct br__scratch *scratch,
                   struct br_err *err)
{
    uint32_t size = br_dtype_size(t->dtype);
    const struct br__elements e = {t->from, t->dtype, off / size, n / size, 0};
    return br__elements_read(&hf_of(s)->binding, &e, dst, scratch, err);
}

/* NULL also if the values' address in the file is not aligned for their dtype. */
static const void *hf_map(const struct br__model_source *s, const struct br__source_tensor *t)
{
    const struct br__ckpt *ck = hf_of(s)->ckpt;
    const struct br__tensor *stored = &ck->tensors[t->from];
    if (stored->dtype != t->dtype || stored->offset % br_dtype_size(t->dtype))
        return NULL;
    return ck->files[stored->file].map + stored->offset;
}

static void hf_close(struct br__model_source *s)
{
    struct hf_source *h = (struct hf_source *)s;
    br__binding_free(&h->binding);
    br__ckpt_close(h->ckpt);
    br__registry_close(h->base.registry);
    br__arena_free(&h->arena);
    br__free(h);
}

static const struct br__source_ops hf_ops = {hf_read, hf_map, hf_close};

/* Every tensor but the scales of FP8 blocks, which go with their weights. */
static int list_tensors(struct hf_source *h, struct br_err *err)
{
    const struct br__ckpt *ck = h->ckpt;
    struct br__source_tensor *list = br__arena_alloc(&h->arena, (ck->n_tensors + 1) * sizeof *list);
    if (!list)
        return br__nomem(err, "opening the model");
    h->base.tensors = list;
    for (size_t i = 0; i < ck->n_tensors; i++) {
        const struct br__tensor *t = &ck->tensors[i];
        if (h->binding.use[i] == BR__SCALE)
            continue;
        struct br__source_tensor *to = &list[h->base.n_tensors++];
        *to = (struct br__source_tensor){.name = t->name,
                                         .dtype = t->dtype == BR_F8_E4M3 ? BR_BF16 : t->dtype,
                                         .ndim = t->ndim,
                                         .from = (uint32_t)i};
        memcpy(to->shape, t->shape, sizeof to->shape);
    }
    return BR_OK;
}

static int hf_open(struct hf_source *h, const struct br__source_opts *o, struct br_err *err)
{
    const struct br__hub_opts hub = {.listener = o->listener};
    const struct br__bind_opts bind = {.hf = 1};
    int rc = br__registry_open(&h->base.registry, o->plugin, err);
    if (rc)
        return rc;
    const struct br__hf_how how = {.registry = h->base.registry, .hub = &hub};
    rc = br__open_hf_model(&h->arena, o->hf_model, &how, &h->ckpt, &h->cfg, err);
    if (rc)
        return rc;
    br__config_settle_dtype(&h->cfg, h->ckpt);
    rc = br__bind(&h->binding, &h->cfg, h->ckpt, &bind, err);
    if (rc)
        return rc;
    h->base.untied = h->binding.untied;
    h->base.config_text = h->ckpt->hf->config_text;
    h->base.generation_text = h->ckpt->hf->generation_text;
    h->base.dir = h->ckpt->dir;
    return list_tensors(h, err);
}

int br__source_open_hf(struct br__model_source **out, const struct br__source_opts *o,
                       struct br_err *err)
{
    *out = NULL;
    struct hf_source *h = br__calloc(1, sizeof *h);
    if (!h)
        return br__nomem(err, "opening the model");
    h->base.ops = &hf_ops;
    h->base.cfg = &h->cfg;
    int rc = hf_open(h, o, err);
    if (rc)
        hf_close(&h->base);
    else
        *out = &h->base;
    return rc;
}

void br__source_close(struct br__model_source *s)
{
    if (s)
        s->ops->close(s);
}
