/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* plan.c - which bytes of the source become which bytes of the destination, and every check of it.
 *
 *   1. bind      the source's tensors to the rules (core/model, bind.c)
 *   2. type      each output: dtype, shift, exactness (plan_layout.c)
 *   3. lay out   pieces and segments (plan_layout.c)
 *
 * Nothing is written before a plan exists, so a source that does not fit leaves no trace. */
#include "plan.h"

#include <math.h>
#include <string.h>

const char *br__exactness_text(int e)
{
    static const char *const text[] = {"exact", "shifted by one, exact",
                                       "shifted by one, widened to stay exact",
                                       "dequantised, rounded once", "rounded"};
    return e >= 0 && e < (int)BR_COUNTOF(text) ? text[e] : "?";
}

/* Megatron has no name for three of the numbers of rope in bands: it uses the rows' defaults,
 * whatever config.json has. */
static int note_rope(struct br__planner *pl)
{
    const struct br_config *cfg = pl->p->b.cfg;
    for (uint32_t id = 0; pl->src_is_hf && id < BR_N_CFG; id++) {
        const struct br_field *f = br__config_field(cfg->arch, id);
        if (!f || !cfg->has[id] || br__config_rope(id) != BR__ROPE_BANDS ||
            id == BR_CFG_ROPE_SCALING_FACTOR || cfg->v[id] == f->value)
            continue;
        if (br__binding_note(&pl->p->b,
                             "%s is %g in config.json, and %g is built into Megatron: the weights "
                             "are exact, but Megatron's rope will differ",
                             br__cfg_keys[id].key, cfg->v[id], f->value))
            return br__plan_nomem(pl->err);
    }
    return BR_OK;
}

/* Megatron has no name for YaRN's factor of cos and sin: it follows from its mscale numbers. */
static int note_yarn(struct br__planner *pl)
{
    const struct br_config *cfg = pl->p->b.cfg;
    const char *type = br_cfg_s(cfg, BR_CFG_POSITION_EMBEDDING_TYPE);
    double theirs = type && !strcmp(type, "yarn") ? br__yarn_megatron(cfg) : cfg->rope_attention;
    if (!pl->src_is_hf || fabs(theirs - cfg->rope_attention) <= 1e-6)
        return BR_OK;
    return br__binding_note(&pl->p->b,
                            "config.json's YaRN multiplies cos and sin by %g, Megatron by %g: the "
                            "weights are exact, but Megatron's rope will differ",
                            cfg->rope_attention, theirs)
               ? br__plan_nomem(pl->err)
               : BR_OK;
}

/* What the layer builder does not carry out concerns Megatron's configuration, not the weights. */
static int note_keys(struct br__planner *pl)
{
    const struct br_config *cfg = pl->p->b.cfg;
    int failed = 0;
    if (!pl->src_is_hf)
        return BR_OK;
    for (const struct br__finding *f = cfg->findings; f; f = f->next)
        failed |= br__binding_note(&pl->p->b, "%s; the weights are exact", f->text);
    if (cfg->unknown_keys)
        failed |= br__binding_note(&pl->p->b, "%s", cfg->unknown_keys);
    return failed ? br__plan_nomem(pl->err) : BR_OK;
}

/* slime and miles store Hugging Face's own linear-attention module inside self_attention: refused,
 * it is another model. */
static int refuse_dialects(const struct br__planner *pl, const struct br__ckpt *src)
{
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

static int plan_build(struct br__planner *pl, struct br_config *cfg, const struct br__ckpt *src)
{
    const struct br__bind_opts o = {
        .hf = pl->src_is_hf, .flags = pl->o->flags, .like = pl->o->like, .ref = pl->o->ref};
    int rc = refuse_dialects(pl, src);
    if (!rc)
        rc = br__bind(&pl->p->b, cfg, src, &o, pl->err);
    if (!rc)
        rc = note_rope(pl);
    if (!rc)
        rc = note_yarn(pl);
    if (!rc)
        rc = note_keys(pl);
    return rc ? rc : br__plan_lay_out(pl);
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
    int rc = plan_build(&pl, cfg, src);
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
    br__binding_free(&p->b);
    br__free(p->pieces);
    br__free(p->segs);
    br__arena_free(&p->arena);
    br__free(p);
}
