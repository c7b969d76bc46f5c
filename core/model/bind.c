/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* bind.c - the tensors of a checkpoint, of either format, bound to the rules of its architecture.
 *
 *   1. settle    what the checkpoint decides: prediction layers, fused experts, the tie
 *   2. expand    the weight rules (rules.c)
 *   3. bind      each slot of the checkpoint's side to a tensor: missing, misshapen, unexpected
 *
 * A model that is read and a conversion plan both start here. */
#include "model_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- 1. settle ------------------------------------------------------------------------------- */

/* Highest index of the {mtp} set among the source's names, plus one. */
static int64_t count_mtp(const struct br__binder *w)
{
    const struct br__arch *arch = w->b->cfg->arch;
    const struct br__ckpt *src = w->b->src;
    int64_t n = 0;
    for (uint32_t r = 0; r < arch->n_maps; r++) {
        const char *pattern = br__map_side(&arch->maps[r], w->hf);
        const char *at = strstr(pattern, "{mtp}");
        if (!at)
            continue;
        size_t prefix = (size_t)(at - pattern);
        for (size_t i = 0; i < src->n_tensors; i++) {
            const char *name = src->tensors[i].name;
            if (!strncmp(name, pattern, prefix) && name[prefix] >= '0' && name[prefix] <= '9')
                n = BR__MAX(n, strtoll(name + prefix, NULL, 10) + 1);
        }
        break; /* every rule of the set has the same prefix */
    }
    return BR__MIN(n, 64);
}

/* The tensors decide, not config.json: the released Qwen3-Next has prediction layers that its
 * config.json does not announce, and the reference importer drops them. */
static int settle_mtp(struct br__binder *w)
{
    struct br_config *cfg = w->b->cfg;
    int64_t found = count_mtp(w);
    if (w->o->flags & BR_JOB_NO_MTP) {
        w->drop_mtp = found > 0;
        found = 0;
    } else if (found != cfg->n_mtp && !found && w->hf) {
        found = cfg->n_mtp; /* announced and absent: binding reports each missing tensor */
    } else if (found != cfg->n_mtp &&
               br__binding_note(w->b,
                                "the source has %lld multi-token-prediction layer(s), "
                                "config.json announces %lld: the tensors count",
                                (long long)found, (long long)cfg->n_mtp)) {
        return br__nomem(w->err, "fitting the tensors to the model");
    }
    cfg->n_mtp = found;
    br_cfg_set(cfg, BR_CFG_MTP_NUM_LAYERS, (double)found);
    return BR_OK;
}

static void settle_fused(struct br__binder *w)
{
    struct br__binding *b = w->b;
    if (w->hf)
        b->fused = br__has_fused(b->cfg->arch, b->src);
    else if (w->o->flags & (BR_JOB_FUSED | BR_JOB_PER_EXPERT))
        b->fused = (w->o->flags & BR_JOB_FUSED) != 0;
    else
        b->fused = w->o->ref && br__has_fused(b->cfg->arch, w->o->ref);
}

static int same_bytes(const struct br__binder *w, const struct br__tensor *a,
                      const struct br__tensor *b, int *same)
{
    const struct br__ckpt *ck = w->b->src;
    *same = a->dtype == b->dtype && a->bytes == b->bytes;
    unsigned char *x = br__alloc(BR__OUT_BUF), *y = br__alloc(BR__OUT_BUF);
    int rc = x && y ? BR_OK : br__nomem(w->err, "fitting the tensors to the model");
    for (uint64_t off = 0; off < a->bytes && *same && !rc && ck->n_files; off += BR__OUT_BUF) {
        size_t n = (size_t)BR__MIN((uint64_t)BR__OUT_BUF, a->bytes - off);
        rc = br__ckpt_read(ck, a, off, x, n, w->err);
        if (!rc)
            rc = br__ckpt_read(ck, b, off, y, n, w->err);
        if (!rc && memcmp(x, y, n))
            *same = 0;
    }
    br__free(x);
    br__free(y);
    return rc;
}

/* config.json ties the output layer to the embedding, yet the source stores one. */
static int settle_duplicate(struct br__binder *w, const struct br__tensor *output,
                            const struct br__tensor *embedding)
{
    struct br__binding *b = w->b;
    int same = 0, rc = embedding ? same_bytes(w, output, embedding, &same) : BR_OK;
    if (rc)
        return rc;
    if (same && !(w->o->flags & BR_JOB_UNTIE)) {
        b->use[output - b->src->tensors] = BR__TIED_COPY;
        b->tied_copy = w->hf;
        return BR_OK;
    }
    if (!same && w->hf && !(w->o->flags & BR_JOB_UNTIE))
        return br_fail(w->err, BR_E_PLAN,
                       "config.json says tie_word_embeddings, but '%s' differs from '%s'; "
                       "use --untie to keep both",
                       output->name, embedding ? embedding->name : "the embedding");
    b->untied = 1;
    br_cfg_set(b->cfg, BR_CFG_SHARE_EMBEDDINGS, 0);
    return br__binding_note(b, "'%s' is kept beside the embedding: the result is untied",
                            output->name)
               ? br__nomem(w->err, "fitting the tensors to the model")
               : BR_OK;
}

static int settle_tie(struct br__binder *w)
{
    struct br__binding *b = w->b;
    const struct br_map *em, *om;
    br__tied_rules(b->cfg->arch, &em, &om);
    b->untied = !br_cfg_i(b->cfg, BR_CFG_SHARE_EMBEDDINGS);
    if (b->untied || !om || !em)
        return BR_OK;
    const struct br__tensor *output = br__ckpt_find(b->src, br__map_side(om, w->hf));
    const struct br__tensor *embedding = br__ckpt_find(b->src, br__map_side(em, w->hf));
    int rc = output ? settle_duplicate(w, output, embedding) : BR_OK;
    if (!w->hf && !b->untied && w->o->ref && br__ckpt_find(w->o->ref, om->hf))
        b->tied_copy = 1;
    return rc;
}

/* Are the decoder keys of a torch_dist checkpoint per layer ("decoder.layers.3.…")? */
static int keys_per_layer(const struct br__binder *w, const struct br__ckpt *ck)
{
    const struct br__arch *arch = w->b->cfg->arch;
    for (uint32_t r = 0; r < arch->n_maps; r++) {
        const char *pattern = arch->maps[r].mcore, *at = strchr(pattern, '{');
        if (!at || strstr(pattern, "{mtp}"))
            continue;
        for (size_t i = 0; i < ck->n_tensors; i++) {
            const char *name = ck->tensors[i].name;
            size_t prefix = (size_t)(at - pattern);
            if (!strncmp(name, pattern, prefix) && name[prefix] >= '0' && name[prefix] <= '9')
                return 1;
        }
    }
    return 0;
}

/* Limit on the tensors of a configuration before it is taken for another model's: room for missing
 * ones, and memory in proportion to the source.  Each tensor of an export has at least one element,
 * of two bytes or more. */
static size_t max_tensors(const struct br__binder *w)
{
    const struct br__ckpt *src = w->b->src;
    uint64_t bytes = 0;
    if (w->o->flags & BR_JOB_NOT_STRICT)
        return 0;
    if (w->hf)
        return 2 * src->n_tensors + 1000;
    for (size_t i = 0; i < src->n_tensors && bytes < UINT32_MAX; i++)
        bytes += src->tensors[i].bytes;
    return (size_t)BR__MIN(bytes, (uint64_t)UINT32_MAX) / 2 + 1000;
}

static int settle_and_expand(struct br__binder *w)
{
    struct br__binding *b = w->b;
    int rc = settle_mtp(w);
    if (rc || (rc = settle_tie(w)))
        return rc;
    settle_fused(w);
    struct br__expand_opts x = {.fused = b->fused, .untied = b->untied, .max_hf = max_tensors(w)};
    const struct br__ckpt *layout = w->hf ? w->o->like : b->src;
    if (layout)
        x.per_layer = keys_per_layer(w, layout) ? 1 : -1;
    else if (w->o->flags & BR_JOB_PER_LAYER)
        x.per_layer = 1;
    else if (w->o->flags & BR_JOB_STACKED)
        x.per_layer = -1;
    return br__rules_expand(&b->arena, b->cfg, &x, &b->x, w->err);
}

/* ---- 3. bind --------------------------------------------------------------------------------- */

/* Only the vocabulary may be longer than the model says, and only in Megatron. */
static int shape_fits(const struct br__binder *w, const struct br__slot *s,
                      const struct br__tensor *t)
{
    const struct br_map *m = &w->b->cfg->arch->maps[s->rule];
    if (t->ndim != s->ndim)
        return 0;
    for (int i = 0; i < s->ndim; i++)
        if (t->shape[i] != s->shape[i] &&
            !(i == 0 && !w->hf && (m->flags & BR_MAP_VOCAB) && t->shape[0] > s->shape[0]))
            return 0;
    return 1;
}

static int check_scales(struct br__binder *w, const struct br__tensor *s)
{
    unsigned char raw[4096];
    float f[4096 / 2];
    uint32_t size = br_dtype_size(s->dtype);
    for (uint64_t off = 0; off < s->bytes; off += sizeof raw) {
        size_t n = (size_t)BR__MIN((uint64_t)sizeof raw, s->bytes - off);
        int rc = br__ckpt_read(w->b->src, s, off, raw, n, w->err);
        if (rc)
            return rc;
        br_cast(f, BR_F32, raw, s->dtype, n / size, 0);
        for (size_t i = 0; i < n / size; i++)
            if (!(f[i] - f[i] == 0)) /* infinity and NaN */
                return br_fail(w->err, BR_E_PLAN, "'%s' has a non-finite FP8 scale at element %llu",
                               s->name, (unsigned long long)(off / size + i));
    }
    return BR_OK;
}

/* "X_scale_inv" of an FP8 tensor: one scale per block, finite. */
static int bind_scale(struct br__binder *w, const struct br__tensor *t)
{
    struct br__binding *b = w->b;
    char *name = br__arena_printf(&b->arena, "%s_scale_inv", t->name);
    const struct br__tensor *s = name ? br__ckpt_find(b->src, name) : NULL;
    int64_t want[BR_MAX_DIMS];
    char got_text[96], want_text[96];
    if (!name)
        return br__nomem(w->err, "fitting the tensors to the model");
    if (!b->cfg->fp8)
        b->cfg->fp8_block[0] = b->cfg->fp8_block[1] = 128;
    if (!s)
        return br_fail(w->err, BR_E_PLAN,
                       "'%s' is F8_E4M3 but has no '%s': without its scales its values are "
                       "unknown",
                       t->name, name);
    if (t->ndim < 2)
        return br_fail(w->err, BR_E_PLAN, "'%s' is F8_E4M3 with %d dimension(s), expected a matrix",
                       t->name, t->ndim);
    memcpy(want, t->shape, sizeof want);
    for (int i = 0; i < 2; i++) {
        int64_t *d = &want[t->ndim - 2 + i];
        *d = (*d + b->cfg->fp8_block[i] - 1) / b->cfg->fp8_block[i];
    }
    if (s->ndim != t->ndim || memcmp(s->shape, want, (size_t)s->ndim * sizeof *want) ||
        (s->dtype != BR_F32 && s->dtype != BR_BF16 && s->dtype != BR_F16))
        return br_fail(w->err, BR_E_PLAN,
                       "'%s' is %s %s, expected F32 or BF16 %s, one scale per %lld x %lld block",
                       name, br_dtype_st(s->dtype),
                       br__shape_str(s->shape, s->ndim, got_text, sizeof got_text),
                       br__shape_str(want, t->ndim, want_text, sizeof want_text),
                       (long long)b->cfg->fp8_block[0], (long long)b->cfg->fp8_block[1]);
    b->scale_of[t - b->src->tensors] = (uint32_t)(s - b->src->tensors);
    b->use[s - b->src->tensors] = BR__SCALE;
    b->dropped_quantization = 1;
    return b->src->n_files ? check_scales(w, s) : BR_OK;
}

/* 1: bound, 0: cannot be (reported), < 0: error. */
static int bind_slot(struct br__binder *w, size_t i)
{
    struct br__binding *b = w->b;
    const struct br__slot *s = &w->slots[i];
    const struct br__tensor *t =
        w->hf ? br__ckpt_find(b->src, s->name) : br__find_key(b->src, s->name);
    char got[96], want[96];
    if (!t)
        return br__misfit_missing(w, s->name);
    uint8_t *use = &b->use[t - b->src->tensors];
    if (!shape_fits(w, s, t)) {
        *use = BR__LEFT_OUT;
        return br__misfit_add(w, "'%s' is %s %s, expected %s", t->name, br_dtype_st(t->dtype),
                              br__shape_str(t->shape, t->ndim, got, sizeof got),
                              br__shape_str(s->shape, s->ndim, want, sizeof want));
    }
    if (!br_dtype_is_float(t->dtype) || t->dtype == BR_F8_E5M2 ||
        (t->dtype == BR_F8_E4M3 && !w->hf)) {
        *use = BR__LEFT_OUT;
        return br__misfit_add(w, "'%s' is %s, expected a float type", t->name,
                              br_dtype_st(t->dtype));
    }
    *use = BR__USED;
    b->tensor_of[i] = (uint32_t)(t - b->src->tensors);
    return t->dtype == BR_F8_E4M3 ? bind_scale(w, t) : BR_OK;
}

static int check_unused(struct br__binder *w)
{
    struct br__binding *b = w->b;
    for (size_t i = 0; i < b->src->n_tensors; i++) {
        const char *name = b->src->tensors[i].name;
        if (b->use[i])
            continue;
        if (w->hf ? br__is_ignored(b->cfg->arch, name) : br__is_training_state(name)) {
            b->use[i] = w->hf ? BR__IGNORED : BR__LEFT_OUT;
        } else if (w->drop_mtp && br__is_mtp(b->cfg->arch, name, w->hf)) {
            b->use[i] = BR__LEFT_OUT;
            w->n_dropped++;
        } else {
            b->use[i] = BR__LEFT_OUT;
            int rc = br__misfit_unexpected(w, name);
            if (rc)
                return rc;
        }
    }
    if (w->n_dropped &&
        br__binding_note(b, "--no-mtp: %zu multi-token-prediction tensors are left out",
                         w->n_dropped))
        return br__nomem(w->err, "fitting the tensors to the model");
    return BR_OK;
}

static int bind_all(struct br__binder *w)
{
    struct br__binding *b = w->b;
    w->slots = w->hf ? b->x->hf : b->x->mc;
    w->n_slots = w->hf ? b->x->n_hf : b->x->n_mc;
    b->tensor_of = br__arena_alloc(&b->arena, (w->n_slots + 1) * sizeof *b->tensor_of);
    if (!b->tensor_of)
        return br__nomem(w->err, "fitting the tensors to the model");
    memset(b->tensor_of, 0xff, w->n_slots * sizeof *b->tensor_of);
    for (size_t i = 0; i < w->n_slots; i++) {
        int rc = bind_slot(w, i);
        if (rc)
            return rc;
    }
    int rc = check_unused(w);
    return rc ? rc : br__misfit_end(w);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int bind_tables(struct br__binder *w)
{
    struct br__binding *b = w->b;
    size_t n = b->src->n_tensors + 1;
    b->use = br__arena_alloc(&b->arena, n);
    b->scale_of = br__arena_alloc(&b->arena, n * sizeof *b->scale_of);
    if (!b->use || !b->scale_of)
        return br__nomem(w->err, "fitting the tensors to the model");
    memset(b->scale_of, 0xff, n * sizeof *b->scale_of);
    return BR_OK;
}

int br__bind(struct br__binding *b, struct br_config *cfg, const struct br__ckpt *src,
             const struct br__bind_opts *o, struct br_err *err)
{
    struct br__binder w = {.b = b, .o = o, .err = err, .hf = o->hf};
    *b = (struct br__binding){.cfg = cfg, .src = src};
    int rc = bind_tables(&w);
    if (!rc)
        rc = settle_and_expand(&w);
    if (!rc)
        rc = bind_all(&w);
    br__buf_free(&w.report);
    if (rc)
        br__binding_free(b);
    return rc;
}

void br__binding_free(struct br__binding *b)
{
    br__free(b->notes);
    br__free(b->skipped);
    br__arena_free(&b->arena);
    memset(b, 0, sizeof *b);
}
