/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* schedule.c - learning rate and weight decay as functions of the number of samples seen.
 *
 * Each expression keeps Megatron's order of operations, in double, so that the values are equal and
 * not just near.  Source: OptimizerParamScheduler of megatron-core 0.19. */
#include "optim.h"
#include "train.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

static int find_name(const char *const *names, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

#define BR_X(id, name) name,
int br__lr_style(const char *name)
{
    static const char *const names[] = {BR__LR_STYLE_MAP(BR_X)};
    return find_name(names, BR__N_LR_STYLES, name);
}

int br__wsd_style(const char *name)
{
    static const char *const names[] = {BR__WSD_STYLE_MAP(BR_X)};
    return find_name(names, BR__N_WSD_STYLES, name);
}

int br__wd_style(const char *name)
{
    static const char *const names[] = {BR__WD_STYLE_MAP(BR_X)};
    return find_name(names, BR__N_WD_STYLES, name);
}

const char *br__lr_style_name(int style)
{
    static const char *const names[] = {BR__LR_STYLE_MAP(BR_X)};
    return names[style];
}

const char *br__wd_style_name(int style)
{
    static const char *const names[] = {BR__WD_STYLE_MAP(BR_X)};
    return names[style];
}
#undef BR_X

static int check_lr(const struct br__schedule *s, struct br_err *err)
{
    if (!(s->min_lr >= 0 && s->max_lr >= s->min_lr))
        return br_fail(err, BR_E_CONFIG, "min_lr is %g and lr is %g, expected 0 <= min_lr <= lr",
                       s->min_lr, s->max_lr);
    if (!(s->init_lr >= 0 && s->init_lr <= s->max_lr))
        return br_fail(err, BR_E_CONFIG, "lr_warmup_init is %g, expected 0 to lr, which is %g",
                       s->init_lr, s->max_lr);
    if (s->decay <= 0)
        return br_fail(err, BR_E_CONFIG,
                       "the learning rate decays over %" PRId64 " samples, expected more than 0",
                       s->decay);
    if (s->warmup < 0 || s->warmup >= s->decay)
        return br_fail(err, BR_E_CONFIG,
                       "the warmup takes %" PRId64 " samples, expected less than the %" PRId64
                       " of the decay; lower lr_warmup_iters or raise lr_decay_iters",
                       s->warmup, s->decay);
    if (s->style == BR__LR_WSD && (s->wsd_decay <= 0 || s->wsd_decay > s->decay))
        return br_fail(err, BR_E_CONFIG,
                       "lr_wsd_decay_iters makes %" PRId64 " samples, expected 1 to %" PRId64,
                       s->wsd_decay, s->decay);
    return BR_OK;
}

int br__schedule_check(const struct br__schedule *s, struct br_err *err)
{
    int rc = check_lr(s, err);
    if (rc)
        return rc;
    if (!(s->start_wd >= 0 && s->end_wd >= s->start_wd))
        return br_fail(err, BR_E_CONFIG,
                       "weight decay goes from %g to %g, expected 0 <= start <= end", s->start_wd,
                       s->end_wd);
    if (s->wd_style == BR__WD_CONSTANT && s->start_wd != s->end_wd)
        return br_fail(err, BR_E_CONFIG,
                       "weight_decay_incr_style is constant, but the decay goes from %g to %g",
                       s->start_wd, s->end_wd);
    if (s->wd_style != BR__WD_CONSTANT && s->wd_incr <= 0)
        return br_fail(err, BR_E_CONFIG,
                       "weight decay rises over %" PRId64 " samples, expected more than 0",
                       s->wd_incr);
    return BR_OK;
}

/* How much of max_lr - min_lr is left in WSD's decay, which ends where the schedule ends. */
static double wsd_share(const struct br__schedule *s, int64_t samples)
{
    int64_t start = s->decay - s->wsd_decay;
    if (samples <= start)
        return 1.0;
    double r = (double)(samples - start) / (double)s->wsd_decay;
    switch (s->wsd_style) {
    case BR__WSD_LINEAR:
        return 1.0 - r;
    case BR__WSD_COSINE:
        return 0.5 * (cos(pi * r) + 1.0);
    case BR__WSD_EXPONENTIAL:
        return 2.0 * pow(0.5, r) - 1.0;
    default:
        return 1.0 - sqrt(r);
    }
}

static double base_lr(const struct br__schedule *s, double max_lr, double min_lr, int64_t samples)
{
    if (s->warmup > 0 && samples <= s->warmup)
        return s->init_lr + (max_lr - s->init_lr) * (double)samples / (double)s->warmup;
    if (s->style == BR__LR_CONSTANT)
        return max_lr;
    if (samples > s->decay)
        return min_lr;
    if (s->style == BR__LR_INVERSE_SQRT) {
        double warmup = (double)BR__MAX(s->warmup, 1), n = (double)BR__MAX(samples, 1);
        return BR__MAX(min_lr, max_lr * pow(warmup, 0.5) / pow(n, 0.5));
    }
    double r = (double)(samples - s->warmup) / (double)(s->decay - s->warmup);
    double share = s->style == BR__LR_LINEAR   ? 1.0 - r
                   : s->style == BR__LR_COSINE ? 0.5 * (cos(pi * r) + 1.0)
                                               : wsd_share(s, samples);
    double part = share * (max_lr - min_lr); /* its own statement: no fused multiply-add */
    return min_lr + part;
}

double br__lr_at(const struct br__schedule *s, const struct br__schedule_group *g, int64_t samples)
{
    return base_lr(s, g->max_lr, g->min_lr, samples) * g->lr_mult;
}

static double base_wd(const struct br__schedule *s, int64_t samples)
{
    if (samples > s->wd_incr || s->wd_style == BR__WD_CONSTANT)
        return s->end_wd;
    double r = (double)samples / (double)s->wd_incr;
    double share = s->wd_style == BR__WD_LINEAR ? r : 0.5 * (cos(pi * (1.0 - r)) + 1.0);
    double part = share * (s->end_wd - s->start_wd);
    return s->start_wd + part;
}

double br__wd_at(const struct br__schedule *s, const struct br__schedule_group *g, int64_t samples)
{
    return base_wd(s, samples) * g->wd_mult;
}
