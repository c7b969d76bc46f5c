/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train_write.c - what a training checkpoint has beyond weights: optimizer tensors, groups,
 * scheduler.
 *
 * Always in the form fully_reshardable, which Megatron loads at any tensor, pipeline and
 * data-parallel size. Source of keys, order and values: checkpoints of megatron-core 0.19.2,
 * compared by the tests. */
#include "train.h"

#include <string.h>

/* ---- common state ---------------------------------------------------------------------------- */

static void put_flag(struct br__pkw *w, const char *key, int v)
{
    br__pkw_str(w, key);
    br__pkw_bool(w, v);
}

static void put_float(struct br__pkw *w, const char *key, double v)
{
    br__pkw_str(w, key);
    br__pkw_float(w, v);
}

static void put_int(struct br__pkw *w, const char *key, int64_t v)
{
    br__pkw_str(w, key);
    br__pkw_int(w, v);
}

static void put_group(struct br__pkw *w, const struct br__optim_group *g)
{
    br__pkw_dict(w);
    put_flag(w, "is_expert_parallel", g->is_expert_parallel);
    put_flag(w, "default_config", 1);
    put_float(w, "wd_mult", g->wd_mult);
    put_float(w, "lr_mult", g->lr_mult);
    put_flag(w, "is_decoupled_lr", g->is_decoupled_lr);
    put_float(w, "max_lr", g->max_lr);
    put_float(w, "min_lr", g->min_lr);
    put_float(w, "lr", g->lr);
    put_flag(w, "bias_correction", g->bias_correction);
    br__pkw_str(w, "betas");
    br__pkw_float(w, g->beta1);
    br__pkw_float(w, g->beta2);
    br__pkw_op(w, '\x86'); /* TUPLE2 */
    br__pkw_put(w);
    put_float(w, "eps", g->eps);
    put_float(w, "weight_decay", g->weight_decay);
    put_int(w, "step", g->step);
    br__pkw_op(w, 'u');
}

/* One optimizer of the chain. */
static void put_one(struct br__pkw *w, const struct br__train_save *t, uint32_t optimizer)
{
    size_t n = 0, at = 0;

    for (size_t i = 0; i < t->n_groups; i++)
        n += !t->experts_apart || t->groups[i].optimizer == optimizer;
    br__pkw_dict(w);
    br__pkw_str(w, "optimizer");
    br__pkw_op(w, '}');
    br__pkw_put(w);
    br__pkw_str(w, "param_groups");
    br__pkw_op(w, ']');
    br__pkw_put(w);
    for (size_t i = 0; i < t->n_groups; i++) {
        if (t->experts_apart && t->groups[i].optimizer != optimizer)
            continue;
        br__pkw_item_begin(w, at, n);
        put_group(w, &t->groups[i]);
        br__pkw_item_end(w, at++, n, BR__PKW_LIST);
    }
    br__pkw_op(w, 's');
    br__pkw_str(w, "param_state_sharding_type");
    br__pkw_str(w, "fully_reshardable");
    br__pkw_op(w, 'u');
}

void br__td_put_optimizer(struct br__pkw *w, const struct br__train_save *t)
{
    if (!t->experts_apart) {
        put_one(w, t, 0);
        return;
    }
    br__pkw_dict(w); /* Megatron looks these up as numbers */
    for (uint32_t i = 0; i < 2; i++) {
        br__pkw_int(w, i);
        put_one(w, t, i);
    }
    br__pkw_op(w, 'u');
}

void br__td_put_scheduler(struct br__pkw *w, const struct br__optim_scheduler *s)
{
    br__pkw_dict(w);
    put_float(w, "max_lr", s->max_lr);
    put_int(w, "lr_warmup_steps", s->warmup_steps);
    put_int(w, "num_steps", s->num_steps);
    br__pkw_str(w, "lr_decay_style");
    br__pkw_str(w, s->decay_style);
    put_int(w, "lr_decay_steps", s->decay_steps);
    put_float(w, "min_lr", s->min_lr);
    put_float(w, "start_wd", s->start_wd);
    put_float(w, "end_wd", s->end_wd);
    br__pkw_str(w, "wd_incr_style");
    br__pkw_str(w, s->wd_incr_style);
    put_int(w, "wd_incr_steps", s->wd_incr_steps);
    br__pkw_op(w, 'u');
}

/* ---- the common state of another checkpoint -------------------------------------------------- */

/* content_metadata with the two keys of the form first, as Megatron writes them. */
static int put_content(struct br__pkw *w, const struct br__pk *old, struct br_err *err)
{
    int rc = BR_OK;

    br__pkw_dict(w);
    br__pkw_str(w, "distrib_optim_sharding_type");
    br__pkw_str(w, "fully_reshardable");
    put_flag(w, "distrib_optim_fully_reshardable_mem_efficient", 0);
    for (uint32_t i = 0; old && old->kind == BR__PK_DICT && i < old->n && !rc; i++) {
        const struct br__pk *key = old->u.item[2 * i];
        if (key->kind == BR__PK_STR && br__starts(key->u.s, "distrib_optim_"))
            continue;
        rc = br__pkw_value(w, key, err);
        if (!rc)
            rc = br__pkw_value(w, old->u.item[2 * i + 1], err);
    }
    br__pkw_op(w, 'u');
    return rc;
}

static int put_changed(struct br__pkw *w, const struct br__pk *common,
                       const struct br__train_save *t, struct br_err *err)
{
    int rc = BR_OK;

    br__pkw_op(w, '}');
    br__pkw_put(w);
    br__pkw_op(w, '(');
    for (uint32_t i = 0; i < common->n && !rc; i++) {
        const struct br__pk *key = common->u.item[2 * i], *value = common->u.item[2 * i + 1];
        const char *name = key->kind == BR__PK_STR ? key->u.s : "";
        rc = br__pkw_value(w, key, err);
        if (rc)
            return rc;
        if (strcmp(name, "optimizer") == 0)
            br__td_put_optimizer(w, t);
        else if (strcmp(name, "content_metadata") == 0)
            rc = put_content(w, value, err);
        else
            rc = br__pkw_value(w, value, err);
        if (rc)
            br_wrap(err, "key '%.80s' of the common state", name);
    }
    br__pkw_op(w, 'u');
    return rc;
}

int br__td_train_common(struct br__buf *out, const struct br__ckpt *ck,
                        const struct br__train_save *t, int as_list, struct br_err *err)
{
    struct br__arena arena = {0};
    struct br__pkw w = {.out = out, .arena = &arena};
    const struct br__pk *common = ck->td->common;

    if (!br__pk_get(common, "optimizer") || !br__pk_get(common, "content_metadata"))
        return br_fail(err, BR_E_FORMAT,
                       "the common state of '%s' lacks 'optimizer' or 'content_metadata'", ck->dir);
    br__pkw_begin(&w);
    if (as_list) {
        br__pkw_op(&w, ']');
        br__pkw_put(&w);
    }
    int rc = put_changed(&w, common, t, err);
    if (as_list)
        br__pkw_op(&w, 'a');
    br__pkw_end(&w);
    br__arena_free(&arena);
    if (!rc && out->failed)
        rc = br_fail(err, out->failed, "out of memory for the common state");
    return rc;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static const char *const kinds[BR__N_OPTIM_KINDS] = {"param", "exp_avg", "exp_avg_sq"};

/* Tensors of the plan and where their bytes come from; *out has room for 4 * n_tensors. */
static size_t put_tensors(struct br__arena *a, const struct br__td_plan *p, const uint8_t *trained,
                          struct br__td_out *out, struct br__train_source *source)
{
    size_t n = p->n_tensors;

    for (size_t i = 0; i < p->n_tensors; i++) {
        out[i] = p->tensors[i];
        source[i] = (struct br__train_source){(uint32_t)i, -1};
        for (int k = 0; k < BR__N_OPTIM_KINDS && (!trained || trained[i]); k++) {
            out[n] = p->tensors[i];
            out[n].dtype = BR_F32;
            out[n].key = br__arena_printf(a, BR__OPTIM_KEYS "%s.%s", kinds[k], p->tensors[i].key);
            if (!out[n].key)
                return 0;
            source[n++] = (struct br__train_source){(uint32_t)i, k};
        }
    }
    return n;
}

int br__td_train_plan(struct br__arena *a, struct br__td_plan *p, const uint8_t *trained,
                      struct br__train_source **source, struct br_err *err)
{
    const int all = 1 + BR__N_OPTIM_KINDS;
    size_t most = all * p->n_tensors, n_items = p->n_items;
    struct br__td_out *out = br__arena_alloc(a, (most + 1) * sizeof *out);
    struct br__td_item *items = br__arena_alloc(a, (all * n_items + 1) * sizeof *items);
    uint32_t *first = br__arena_alloc(a, (p->n_tensors + 1) * sizeof *first);

    *source = br__arena_alloc(a, (most + 1) * sizeof **source);
    size_t n = out && items && first && *source ? put_tensors(a, p, trained, out, *source) : 0;
    if (!n && p->n_tensors)
        return br__nomem(err, "planning a training checkpoint");
    for (size_t i = n; i-- > p->n_tensors;)
        first[(*source)[i].weight] = (uint32_t)i;
    memcpy(items, p->items, n_items * sizeof *items);
    for (int k = 0; k < BR__N_OPTIM_KINDS; k++)
        for (size_t i = 0; i < p->n_items; i++) {
            struct br__td_item it = p->items[i];
            if (it.tensor == BR__TD_OBJECT || !first[it.tensor])
                continue;
            it.data_bytes =
                it.data_bytes / br_dtype_size(p->tensors[it.tensor].dtype) * sizeof(float);
            it.tensor = first[it.tensor] + (uint32_t)k;
            items[n_items++] = it;
        }
    p->tensors = out;
    p->n_tensors = n;
    p->items = items;
    p->n_items = n_items;
    return BR_OK;
}
