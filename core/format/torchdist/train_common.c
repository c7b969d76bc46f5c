/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train_common.c - optimizer groups, scheduler and counters of a training checkpoint.
 *
 * Groups are in the common state, as one list, or one for each optimizer of a chain under integer
 * keys; with dp_reshardable they are in a bytes item for each model-parallel rank, all alike.
 * Source: checkpoints written by megatron-core 0.19.2 through Megatron Bridge and Megatron-LM. */
#include "train.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_GROUPS 64
#define DP_KEY "optimizer.distributed.dp_group_idx_"

static const char *text_of(const struct br__pk *v)
{
    return v && v->kind == BR__PK_STR && strlen(v->u.s) == v->n ? v->u.s : NULL;
}

static int64_t count_of(const struct br__pk *v)
{
    return v && v->kind == BR__PK_INT && !v->big && v->u.i >= 0 ? v->u.i : -1;
}

const char *br__td_sharding(const struct br__td *td)
{
    const struct br__pk *content = br__pk_get(td->common, "content_metadata");
    const struct br__pk *optimizer = br__pk_get(td->common, "optimizer");
    const char *s = text_of(br__pk_get(content, "distrib_optim_sharding_type"));

    return s ? s : text_of(br__pk_get(optimizer, "param_state_sharding_type"));
}

/* train_state.pt counts samples; where Megatron-LM wrote the checkpoint its arguments do, and the
 * scheduler's steps are samples too. */
int64_t br__td_samples(const struct br__td *td)
{
    int64_t n = td->consumed_samples;

    if (n < 0 && td->args)
        n = count_of(br__pk_get(td->args, "consumed_train_samples"));
    if (n < 0)
        n = count_of(br__pk_get(br__pk_get(td->common, "opt_param_scheduler"), "num_steps"));
    return n;
}

/* ---- values of a dict ------------------------------------------------------------------------ */

/* A dict that is read key by key; the first error sticks. */
struct reader {
    const struct br__pk *dict;
    const char *what;
    struct br_err *err;
    int rc;
};

static double number_of(const struct br__pk *v)
{
    if (v && v->kind == BR__PK_FLOAT)
        return v->u.f;
    return v && v->kind == BR__PK_INT && !v->big ? (double)v->u.i : NAN;
}

static void common_refuse(struct reader *r, const char *key, const char *expected)
{
    if (!r->rc)
        r->rc = br_fail(r->err, BR_E_FORMAT, "%s: '%s' is %s, expected %s", r->what, key,
                        br__pk_get(r->dict, key) ? "something else" : "missing", expected);
}

/* A finite number; NAN as the default makes it required. */
static double common_number(struct reader *r, const char *key, double dflt)
{
    const struct br__pk *v = br__pk_get(r->dict, key);
    double x = v && v->kind != BR__PK_NONE ? number_of(v) : dflt;
    if (!isfinite(x))
        common_refuse(r, key, "a finite number");
    return x;
}

static int common_flag(struct reader *r, const char *key, int dflt)
{
    const struct br__pk *v = br__pk_get(r->dict, key);
    if (!v || v->kind == BR__PK_NONE)
        return dflt;
    if (v->kind != BR__PK_BOOL)
        common_refuse(r, key, "True or False");
    return v->b;
}

static int64_t common_count(struct reader *r, const char *key, int64_t dflt)
{
    const struct br__pk *v = br__pk_get(r->dict, key);
    int64_t n = v ? count_of(v) : dflt;
    if (n < 0)
        common_refuse(r, key, "a count");
    return n;
}

static const char *common_word(struct reader *r, struct br__arena *a, const char *key,
                               const char *dflt)
{
    const struct br__pk *v = br__pk_get(r->dict, key);
    const char *s = v ? text_of(v) : dflt;
    if (!s || !br__utf8_valid(s, strlen(s))) {
        common_refuse(r, key, "a word");
        return "";
    }
    s = br__arena_strdup(a, s);
    if (!s && !r->rc)
        r->rc = br__nomem(r->err, "reading the scheduler");
    return s ? s : "";
}

/* ---- groups ---------------------------------------------------------------------------------- */

static void read_betas(struct reader *r, struct br__optim_group *g)
{
    const struct br__pk *v = br__pk_get(r->dict, "betas");
    if (!v || (v->kind != BR__PK_TUPLE && v->kind != BR__PK_LIST) || v->n != 2) {
        common_refuse(r, "betas", "two numbers");
        return;
    }
    g->beta1 = number_of(v->u.item[0]);
    g->beta2 = number_of(v->u.item[1]);
    if (!(g->beta1 >= 0 && g->beta1 < 1 && g->beta2 >= 0 && g->beta2 < 1))
        common_refuse(r, "betas", "two numbers from 0 to below 1");
}

/* Defaults are those of keys that Megatron itself does without. */
static int read_group(struct br__train_state *s, const struct br__pk *dict,
                      struct br__optim_group *g, struct br_err *err)
{
    struct reader r = {dict, "an optimizer group of the checkpoint", err, BR_OK};
    const char *wd_mult = br__pk_get(dict, "wd_mult") ? "wd_mult" : "pre_wd_mult";

    if (dict->kind != BR__PK_DICT)
        return br_fail(err, BR_E_FORMAT, "an optimizer group of the checkpoint is no dict");
    g->is_expert_parallel = common_flag(&r, "is_expert_parallel", 0);
    g->is_decoupled_lr = common_flag(&r, "is_decoupled_lr", 0);
    g->bias_correction = common_flag(&r, "bias_correction", 1);
    g->wd_mult = common_number(&r, wd_mult, 1);
    g->lr_mult = common_number(&r, "lr_mult", 1);
    g->max_lr = common_number(&r, "max_lr", NAN);
    g->min_lr = common_number(&r, "min_lr", NAN);
    g->lr = common_number(&r, "lr", 0);
    g->eps = common_number(&r, "eps", NAN);
    g->weight_decay = common_number(&r, "weight_decay", 0);
    read_betas(&r, g);
    g->step = common_count(&r, "step", s->iteration);
    return r.rc;
}

static int same_group(const struct br__optim_group *a, const struct br__optim_group *b)
{
    return a->optimizer == b->optimizer && a->is_expert_parallel == b->is_expert_parallel &&
           a->is_decoupled_lr == b->is_decoupled_lr && a->wd_mult == b->wd_mult &&
           a->lr_mult == b->lr_mult && a->max_lr == b->max_lr && a->min_lr == b->min_lr;
}

/* Ranks of dp_reshardable repeat the groups: those must agree on where the run was. */
static int add_group(struct br__train_state *s, const struct br__optim_group *g, int may_repeat,
                     struct br_err *err)
{
    for (size_t i = 0; may_repeat && i < s->n_groups; i++) {
        const struct br__optim_group *have = &s->groups[i];
        if (!same_group(have, g))
            continue;
        return have->step == g->step
                   ? BR_OK
                   : br_fail(err, BR_E_FORMAT,
                             "ranks of the checkpoint disagree on the optimizer's step: %" PRId64
                             " and %" PRId64,
                             have->step, g->step);
    }
    if (s->n_groups == MAX_GROUPS)
        return br_fail(err, BR_E_UNSUPPORTED, "more than %d optimizer groups", MAX_GROUPS);
    if (br__grow(&s->groups, &s->cap_groups, s->n_groups, sizeof *s->groups))
        return br__nomem(err, "reading optimizer groups");
    s->groups[s->n_groups++] = *g;
    return BR_OK;
}

static int read_groups(struct br__train_state *s, const struct br__pk *optimizer, uint32_t chain,
                       int may_repeat, struct br_err *err)
{
    const struct br__pk *list = br__pk_get(optimizer, "param_groups");

    if (!list || list->kind != BR__PK_LIST || !list->n)
        return br_fail(err, BR_E_FORMAT,
                       "the checkpoint has optimizer tensors, but no list 'param_groups'");
    for (uint32_t i = 0; i < list->n; i++) {
        struct br__optim_group g = {.optimizer = chain};
        int rc = read_group(s, list->u.item[i], &g, err);
        if (!rc)
            rc = add_group(s, &g, may_repeat, err);
        if (rc)
            return rc;
    }
    return BR_OK;
}

static const struct br__pk *by_number(const struct br__pk *dict, int64_t key)
{
    for (uint32_t i = 0; dict && dict->kind == BR__PK_DICT && i < dict->n; i++) {
        const struct br__pk *k = dict->u.item[2 * i];
        if (k->kind == BR__PK_INT && !k->big && k->u.i == key)
            return dict->u.item[2 * i + 1];
    }
    return NULL;
}

/* A distributed or mixed-precision optimizer wraps the one that has the groups; the one of float32
 * models without distributed optimizer does not. */
static int read_one(struct br__train_state *s, const struct br__pk *optimizer, uint32_t chain,
                    struct br_err *err)
{
    const struct br__pk *inner = br__pk_get(optimizer, "optimizer");
    return read_groups(s, inner ? inner : optimizer, chain, 0, err);
}

static int read_common_groups(struct br__train_state *s, struct br_err *err)
{
    const struct br__pk *optimizer = br__pk_get(s->ck->td->common, "optimizer");
    const struct br__pk *first = by_number(optimizer, 0), *second = by_number(optimizer, 1);

    if (!first)
        return read_one(s, optimizer, 0, err);
    if (!second || by_number(optimizer, 2))
        return br_fail(err, BR_E_UNSUPPORTED,
                       "%u optimizers in a chain, expected that of the dense parameters and that "
                       "of the experts",
                       optimizer->n);
    s->experts_apart = 1;
    int rc = read_one(s, first, 0, err);
    return rc ? rc : read_one(s, second, 1, err);
}

/* "[chained_<k>.]optimizer.distributed.dp_group_idx_<g>.optimizer/shard_0_1" */
static int is_group_object(const char *key, uint32_t *chain)
{
    *chain = 0;
    if (br__starts(key, "chained_")) {
        if ((key[8] != '0' && key[8] != '1') || key[9] != '.')
            return 0;
        *chain = key[8] == '1';
        key += 10;
    }
    if (!br__starts(key, DP_KEY))
        return 0;
    key += strlen(DP_KEY);
    return strcmp(key + strspn(key, "0123456789"), ".optimizer/shard_0_1") == 0;
}

static int read_object_groups(struct br__train_state *s, struct br_err *err)
{
    for (size_t i = 0; i < s->ck->td->n_objects; i++) {
        struct br__arena a = {0};
        struct br__pk *v;
        uint32_t chain;
        if (!is_group_object(s->ck->td->objects[i], &chain))
            continue;
        int rc = br__td_object(s->ck, &a, i, &v, err);
        if (!rc && v->kind == BR__PK_LIST && v->n == 1)
            v = v->u.item[0];
        if (!rc)
            rc = read_groups(s, v, chain, 1, err);
        if (rc && err)
            br_wrap(err, "'%s'", s->ck->td->objects[i]);
        br__arena_free(&a);
        if (rc)
            return rc;
        s->experts_apart |= chain == 1;
    }
    return s->n_groups ? BR_OK
                       : br_fail(err, BR_E_FORMAT,
                                 "dp_reshardable, but no item has the optimizer's groups");
}

/* ---- scheduler ------------------------------------------------------------------------------- */

static int read_scheduler(struct br__train_state *s, struct br_err *err)
{
    const struct br__pk *dict = br__pk_get(s->ck->td->common, "opt_param_scheduler");
    struct reader r = {dict, "the checkpoint's opt_param_scheduler", err, BR_OK};

    if (!dict)
        return BR_OK;
    if (dict->kind != BR__PK_DICT)
        return br_fail(err, BR_E_FORMAT, "%s is no dict", r.what);
    s->has_scheduler = 1;
    s->scheduler = (struct br__optim_scheduler){
        .max_lr = common_number(&r, "max_lr", NAN),
        .min_lr = common_number(&r, "min_lr", NAN),
        .start_wd = common_number(&r, "start_wd", 0),
        .end_wd = common_number(&r, "end_wd", 0),
        .warmup_steps = common_count(&r, "lr_warmup_steps", -1),
        .decay_steps = common_count(&r, "lr_decay_steps", -1),
        .num_steps = common_count(&r, "num_steps", -1),
        .wd_incr_steps = common_count(&r, "wd_incr_steps", 0),
        .decay_style = common_word(&r, &s->arena, "lr_decay_style", NULL),
        .wd_incr_style = common_word(&r, &s->arena, "wd_incr_style", "constant"),
    };
    return r.rc;
}

int br__train_read_common(struct br__train_state *s, struct br_err *err)
{
    const struct br__td *td = s->ck->td;
    int rc = BR_OK;

    s->iteration = td->iteration >= 0 ? td->iteration : td->train_step;
    s->consumed_samples = br__td_samples(td);
    for (size_t i = 0; i < td->n_objects; i++)
        s->n_rng_items += (size_t)br__starts(td->objects[i], "rng_state/");
    if (s->form == BR__OPTIM_DP)
        rc = read_object_groups(s, err);
    else if (s->form != BR__OPTIM_NONE)
        rc = read_common_groups(s, err);
    return rc ? rc : read_scheduler(s, err);
}
