/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* plan.c - which bytes of the source become which bytes of the destination, and every check of it.
 *
 *   1. settle    the family's options from what the source holds: prediction layers, fused experts,
 * tie
 *   2. expand    the weight rules (rules.c)
 *   3. bind      each source slot to a tensor: missing, misshapen, unexpected
 *   4. type      each output: dtype, shift, exactness
 *   5. lay out   pieces and segments (plan_layout.c)
 *
 * Nothing is written before a plan exists, so a source that does not fit leaves no trace. */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

const char *br__exactness_text(int e)
{
    static const char *const text[] = {"exact", "shifted by one, exact",
                                       "shifted by one, widened to stay exact",
                                       "dequantised, rounded once", "rounded"};
    return e >= 0 && e < (int)BR_COUNTOF(text) ? text[e] : "?";
}

/* ---- 1. settle ------------------------------------------------------------------------------- */

/* Highest index of the {mtp} set among the source's names, plus one. */
static int64_t count_mtp(const struct br__planner *pl)
{
    const struct br__arch *arch = pl->p->cfg->arch;
    const struct br__ckpt *src = pl->p->src;
    int64_t n = 0;
    for (uint32_t r = 0; r < arch->n_maps; r++) {
        const char *pattern = br__map_side(&arch->maps[r], pl->src_is_hf);
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
static int settle_mtp(struct br__planner *pl)
{
    struct br_config *cfg = pl->p->cfg;
    int64_t found = count_mtp(pl);
    if (pl->o->flags & BR_JOB_NO_MTP) {
        pl->drop_mtp = found > 0;
        found = 0;
    } else if (found != cfg->n_mtp && !found && pl->src_is_hf) {
        found = cfg->n_mtp; /* announced and absent: binding reports each missing tensor */
    } else if (found != cfg->n_mtp &&
               br__plan_note(pl->p,
                             "the source has %lld multi-token-prediction layer(s), "
                             "config.json announces %lld: the tensors count",
                             (long long)found, (long long)cfg->n_mtp)) {
        return br__plan_nomem(pl->err);
    }
    cfg->n_mtp = found;
    br_cfg_set(cfg, BR_CFG_MTP_NUM_LAYERS, (double)found);
    return BR_OK;
}

static void settle_fused(struct br__planner *pl)
{
    struct br__plan *p = pl->p;
    if (pl->src_is_hf)
        p->fused = br__plan_has_fused(p->cfg->arch, p->src);
    else if (pl->o->flags & (BR_JOB_FUSED | BR_JOB_PER_EXPERT))
        p->fused = (pl->o->flags & BR_JOB_FUSED) != 0;
    else
        p->fused = pl->o->ref && br__plan_has_fused(p->cfg->arch, pl->o->ref);
}

static int same_bytes(const struct br__planner *pl, const struct br__tensor *a,
                      const struct br__tensor *b, int *same)
{
    const struct br__ckpt *ck = pl->p->src;
    *same = a->dtype == b->dtype && a->bytes == b->bytes;
    unsigned char *x = br__alloc(BR__OUT_BUF), *y = br__alloc(BR__OUT_BUF);
    int rc = x && y ? BR_OK : br__plan_nomem(pl->err);
    for (uint64_t off = 0; off < a->bytes && *same && !rc && ck->n_files; off += BR__OUT_BUF) {
        size_t n = (size_t)BR__MIN((uint64_t)BR__OUT_BUF, a->bytes - off);
        rc = br__ckpt_read(ck, a, off, x, n, pl->err);
        if (!rc)
            rc = br__ckpt_read(ck, b, off, y, n, pl->err);
        if (!rc && memcmp(x, y, n))
            *same = 0;
    }
    br__free(x);
    br__free(y);
    return rc;
}

/* config.json ties the output layer to the embedding, yet the source stores one. */
static int settle_duplicate(struct br__planner *pl, const struct br__tensor *output,
                            const struct br__tensor *embedding)
{
    struct br__plan *p = pl->p;
    int same = 0, rc = embedding ? same_bytes(pl, output, embedding, &same) : BR_OK;
    if (rc)
        return rc;
    if (same && !(pl->o->flags & BR_JOB_UNTIE)) {
        p->use[output - p->src->tensors] = BR__TIED_COPY;
        p->tied_copy = pl->src_is_hf;
        return BR_OK;
    }
    if (!same && pl->src_is_hf && !(pl->o->flags & BR_JOB_UNTIE))
        return br_fail(pl->err, BR_E_PLAN,
                       "config.json says tie_word_embeddings, but '%s' differs from '%s'; "
                       "use --untie to keep both",
                       output->name, embedding ? embedding->name : "the embedding");
    p->untied = 1;
    br_cfg_set(p->cfg, BR_CFG_SHARE_EMBEDDINGS, 0);
    return br__plan_note(p, "'%s' is kept beside the embedding: the result is untied", output->name)
               ? br__plan_nomem(pl->err)
               : BR_OK;
}

static int settle_tie(struct br__planner *pl)
{
    struct br__plan *p = pl->p;
    const struct br_map *em, *om;
    br__plan_tied_rules(p->cfg->arch, &em, &om);
    p->untied = !br_cfg_i(p->cfg, BR_CFG_SHARE_EMBEDDINGS);
    if (p->untied || !om || !em)
        return BR_OK;
    const struct br__tensor *output = br__ckpt_find(p->src, br__map_side(om, pl->src_is_hf));
    const struct br__tensor *embedding = br__ckpt_find(p->src, br__map_side(em, pl->src_is_hf));
    int rc = output ? settle_duplicate(pl, output, embedding) : BR_OK;
    if (!pl->src_is_hf && !p->untied && pl->o->ref && br__ckpt_find(pl->o->ref, om->hf))
        p->tied_copy = 1;
    return rc;
}

/* Are the decoder keys of a torch_dist checkpoint per layer ("decoder.layers.3.…")? */
static int keys_per_layer(const struct br__planner *pl, const struct br__ckpt *ck)
{
    const struct br__arch *arch = pl->p->cfg->arch;
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

/* How many tensors a configuration may ask for before it is taken for that of another model: room
 * for what may be missing, and memory in proportion to the source.  An export's tensors have an
 * element each, of two bytes or more. */
static size_t max_tensors(const struct br__planner *pl)
{
    const struct br__ckpt *src = pl->p->src;
    uint64_t bytes = 0;
    if (pl->o->flags & BR_JOB_NOT_STRICT)
        return 0;
    if (pl->src_is_hf)
        return 2 * src->n_tensors + 1000;
    for (size_t i = 0; i < src->n_tensors && bytes < UINT32_MAX; i++)
        bytes += src->tensors[i].bytes;
    return (size_t)BR__MIN(bytes, (uint64_t)UINT32_MAX) / 2 + 1000;
}

static int settle_and_expand(struct br__planner *pl)
{
    struct br__plan *p = pl->p;
    int rc = settle_mtp(pl);
    if (rc || (rc = settle_tie(pl)))
        return rc;
    settle_fused(pl);
    struct br__expand_opts x = {.fused = p->fused, .untied = p->untied, .max_hf = max_tensors(pl)};
    const struct br__ckpt *layout = pl->src_is_hf ? pl->o->like : p->src;
    if (layout)
        x.per_layer = keys_per_layer(pl, layout) ? 1 : -1;
    else if (pl->o->flags & BR_JOB_PER_LAYER)
        x.per_layer = 1;
    else if (pl->o->flags & BR_JOB_STACKED)
        x.per_layer = -1;
    return br__rules_expand(&p->arena, p->cfg, &x, &p->x, pl->err);
}

/* ---- 3. bind --------------------------------------------------------------------------------- */

/* Only the vocabulary may be longer than the model says, and only in Megatron. */
static int shape_fits(const struct br__planner *pl, const struct br__slot *s,
                      const struct br__tensor *t)
{
    const struct br_map *m = &pl->p->cfg->arch->maps[s->rule];
    if (t->ndim != s->ndim)
        return 0;
    for (int i = 0; i < s->ndim; i++)
        if (t->shape[i] != s->shape[i] &&
            !(i == 0 && !pl->src_is_hf && (m->flags & BR_MAP_VOCAB) && t->shape[0] > s->shape[0]))
            return 0;
    return 1;
}

static int check_scales(struct br__planner *pl, const struct br__tensor *s)
{
    unsigned char raw[4096];
    float f[4096 / 2];
    uint32_t size = br_dtype_size(s->dtype);
    for (uint64_t off = 0; off < s->bytes; off += sizeof raw) {
        size_t n = (size_t)BR__MIN((uint64_t)sizeof raw, s->bytes - off);
        int rc = br__ckpt_read(pl->p->src, s, off, raw, n, pl->err);
        if (rc)
            return rc;
        br_cast(f, BR_F32, raw, s->dtype, n / size, 0);
        for (size_t i = 0; i < n / size; i++)
            if (!(f[i] - f[i] == 0)) /* infinity and NaN */
                return br_fail(pl->err, BR_E_PLAN,
                               "'%s' has a non-finite FP8 scale at element %llu", s->name,
                               (unsigned long long)(off / size + i));
    }
    return BR_OK;
}

/* "X_scale_inv" of an FP8 tensor: one scale per block, finite. */
static int bind_scale(struct br__planner *pl, const struct br__tensor *t)
{
    struct br__plan *p = pl->p;
    char *name = br__arena_printf(&p->arena, "%s_scale_inv", t->name);
    const struct br__tensor *s = name ? br__ckpt_find(p->src, name) : NULL;
    int64_t want[BR_MAX_DIMS];
    char got_text[96], want_text[96];
    if (!name)
        return br__plan_nomem(pl->err);
    if (!p->cfg->fp8)
        p->cfg->fp8_block[0] = p->cfg->fp8_block[1] = 128;
    if (!s)
        return br_fail(pl->err, BR_E_PLAN,
                       "'%s' is F8_E4M3 but has no '%s': without its scales its values are "
                       "unknown",
                       t->name, name);
    if (t->ndim < 2)
        return br_fail(pl->err, BR_E_PLAN,
                       "'%s' is F8_E4M3 with %d dimension(s), expected a matrix", t->name, t->ndim);
    memcpy(want, t->shape, sizeof want);
    for (int i = 0; i < 2; i++) {
        int64_t *d = &want[t->ndim - 2 + i];
        *d = (*d + p->cfg->fp8_block[i] - 1) / p->cfg->fp8_block[i];
    }
    if (s->ndim != t->ndim || memcmp(s->shape, want, (size_t)s->ndim * sizeof *want) ||
        (s->dtype != BR_F32 && s->dtype != BR_BF16 && s->dtype != BR_F16))
        return br_fail(pl->err, BR_E_PLAN,
                       "'%s' is %s %s, expected F32 or BF16 %s, one scale per %lld x %lld block",
                       name, br_dtype_st(s->dtype),
                       br__shape_str(s->shape, s->ndim, got_text, sizeof got_text),
                       br__shape_str(want, t->ndim, want_text, sizeof want_text),
                       (long long)p->cfg->fp8_block[0], (long long)p->cfg->fp8_block[1]);
    p->scale_of[t - p->src->tensors] = (uint32_t)(s - p->src->tensors);
    p->use[s - p->src->tensors] = BR__SCALE;
    p->dropped_quantization = 1;
    return p->src->n_files ? check_scales(pl, s) : BR_OK;
}

/* 1: bound, 0: cannot be (reported), < 0: error. */
static int bind_slot(struct br__planner *pl, size_t i)
{
    struct br__plan *p = pl->p;
    const struct br__slot *s = &pl->src_slots[i];
    const struct br__tensor *t =
        pl->src_is_hf ? br__ckpt_find(p->src, s->name) : br__plan_find_key(p->src, s->name);
    char got[96], want[96];
    if (!t)
        return br__misfit_missing(pl, s->name);
    uint8_t *use = &p->use[t - p->src->tensors];
    if (!shape_fits(pl, s, t)) {
        *use = BR__LEFT_OUT;
        return br__misfit_add(pl, "'%s' is %s %s, expected %s", t->name, br_dtype_st(t->dtype),
                              br__shape_str(t->shape, t->ndim, got, sizeof got),
                              br__shape_str(s->shape, s->ndim, want, sizeof want));
    }
    if (!br_dtype_is_float(t->dtype) || t->dtype == BR_F8_E5M2 ||
        (t->dtype == BR_F8_E4M3 && !pl->src_is_hf)) {
        *use = BR__LEFT_OUT;
        return br__misfit_add(pl, "'%s' is %s, expected a float type", t->name,
                              br_dtype_st(t->dtype));
    }
    *use = BR__USED;
    pl->bound[i] = (uint32_t)(t - p->src->tensors);
    return t->dtype == BR_F8_E4M3 ? bind_scale(pl, t) : BR_OK;
}

static int check_unused(struct br__planner *pl)
{
    struct br__plan *p = pl->p;
    for (size_t i = 0; i < p->src->n_tensors; i++) {
        const char *name = p->src->tensors[i].name;
        if (p->use[i])
            continue;
        if (pl->src_is_hf ? br__plan_is_ignored(p->cfg->arch, name)
                          : br__plan_is_training_state(name)) {
            p->use[i] = pl->src_is_hf ? BR__IGNORED : BR__LEFT_OUT;
        } else if (pl->drop_mtp && br__plan_is_mtp(p->cfg->arch, name, pl->src_is_hf)) {
            p->use[i] = BR__LEFT_OUT;
            pl->n_dropped++;
        } else {
            p->use[i] = BR__LEFT_OUT;
            int rc = br__misfit_unexpected(pl, name);
            if (rc)
                return rc;
        }
    }
    if (pl->n_dropped &&
        br__plan_note(p, "--no-mtp: %zu multi-token-prediction tensors are left out",
                      pl->n_dropped))
        return br__plan_nomem(pl->err);
    return BR_OK;
}

static int bind_all(struct br__planner *pl)
{
    struct br__plan *p = pl->p;
    pl->src_slots = pl->src_is_hf ? p->x->hf : p->x->mc;
    pl->n_src_slots = pl->src_is_hf ? p->x->n_hf : p->x->n_mc;
    pl->bound = br__arena_alloc(&p->arena, (pl->n_src_slots + 1) * sizeof *pl->bound);
    if (!pl->bound)
        return br__plan_nomem(pl->err);
    memset(pl->bound, 0xff, pl->n_src_slots * sizeof *pl->bound);
    for (size_t i = 0; i < pl->n_src_slots; i++) {
        int rc = bind_slot(pl, i);
        if (rc)
            return rc;
    }
    int rc = check_unused(pl);
    return rc ? rc : br__misfit_end(pl);
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Megatron has no name for three of the numbers of rope in bands: it computes with the rows'
 * defaults, whatever config.json says. */
static int note_rope(const struct br__planner *pl)
{
    const struct br_config *cfg = pl->p->cfg;
    for (uint32_t id = 0; pl->src_is_hf && id < BR_N_CFG; id++) {
        const struct br_field *f = br__config_field(cfg->arch, id);
        if (!f || !cfg->has[id] || br__config_rope(id) != BR__ROPE_BANDS ||
            id == BR_CFG_ROPE_SCALING_FACTOR || cfg->v[id] == f->value)
            continue;
        if (br__plan_note(pl->p,
                          "%s is %g in config.json, and %g is built into Megatron: the weights "
                          "are exact, but Megatron's rope will differ",
                          br__cfg_keys[id].key, cfg->v[id], f->value))
            return br__plan_nomem(pl->err);
    }
    return BR_OK;
}

/* slime and miles keep Hugging Face's own linear-attention module inside self_attention: another
 * model. */
static int refuse_dialects(const struct br__planner *pl)
{
    const struct br__ckpt *src = pl->p->src;
    for (size_t i = 0; i < src->n_tensors && !pl->src_is_hf; i++) {
        const char *n = src->tensors[i].name;
        if (strstr(n, ".self_attention.linear_attn.") || strstr(n, "linear_qgkv"))
            return br_fail(
                pl->err, BR_E_UNSUPPORTED,
                "'%s' is of slime's own Qwen3-Next dialect, not Megatron's "
                "gated delta net; convert it with slime's tools/convert_torch_dist_to_hf.py",
                n);
    }
    return BR_OK;
}

static int make(struct br__planner *pl)
{
    struct br__plan *p = pl->p;
    size_t n = p->src->n_tensors + 1;
    p->use = br__arena_alloc(&p->arena, n);
    p->scale_of = br__arena_alloc(&p->arena, n * sizeof *p->scale_of);
    if (!p->use || !p->scale_of)
        return br__plan_nomem(pl->err);
    memset(p->scale_of, 0xff, n * sizeof *p->scale_of);
    int rc = refuse_dialects(pl);
    if (rc || (rc = note_rope(pl)) || (rc = settle_and_expand(pl)) || (rc = bind_all(pl)))
        return rc;
    return br__plan_lay_out(pl);
}

int br__plan_make(struct br__plan **out, int direction, struct br_config *cfg,
                  const struct br__ckpt *src, const struct br__plan_opts *o, struct br_err *err)
{
    struct br__planner pl = {.o = o, .err = err, .src_is_hf = direction == BR__IMPORT};
    *out = NULL;
    pl.p = br__calloc(1, sizeof *pl.p);
    if (!pl.p)
        return br__plan_nomem(err);
    pl.p->direction = direction;
    pl.p->cfg = cfg;
    pl.p->src = src;
    int rc = make(&pl);
    br__free(pl.report.p);
    if (rc)
        br__plan_free(pl.p);
    else
        *out = pl.p;
    return rc;
}

void br__plan_free(struct br__plan *p)
{
    if (!p)
        return;
    br__free(p->notes);
    br__free(p->skipped);
    br__free(p->pieces);
    br__free(p->segs);
    br__arena_free(&p->arena);
    br__free(p);
}
