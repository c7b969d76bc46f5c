/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* rope.c - rotary embedding: the frequency of each channel pair, per scaling method. */
#include "model_internal.h"
#include <math.h>
#include <string.h>

#define PI 3.14159265358979323846

/* Channel whose wavelength makes `turns` turns within the original context (YaRN, eq. 17). */
static double correction_dim(double turns, double dim, double base, double context)
{
    return dim * log(context / (turns * 2 * PI)) / (2 * log(base));
}

static double yarn_mscale(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

double br__yarn_attention(double factor, double stated, double mscale, double mscale_all_dim)
{
    if (stated != 0)
        return stated;
    return mscale != 0 && mscale_all_dim != 0
               ? yarn_mscale(factor, mscale) / yarn_mscale(factor, mscale_all_dim)
               : yarn_mscale(factor, 1);
}

double br__yarn_megatron(const struct br_config *cfg)
{
    double factor = br_cfg_f(cfg, BR_CFG_YARN_ROTARY_SCALING_FACTOR);
    return yarn_mscale(factor, br_cfg_f(cfg, BR_CFG_YARN_MSCALE)) /
           yarn_mscale(factor, br_cfg_f(cfg, BR_CFG_YARN_MSCALE_ALL_DIM));
}

/* Blend of the plain frequencies (short wavelengths) and those divided by the factor (long ones).
 */
static int yarn(const struct br_config *cfg, float *f, int64_t n, double *scale, struct br_err *err)
{
    double dim = 2 * (double)n, base = br_cfg_f(cfg, BR_CFG_ROTARY_BASE);
    double factor = br_cfg_f(cfg, BR_CFG_YARN_ROTARY_SCALING_FACTOR);
    double context = br_cfg_f(cfg, BR_CFG_YARN_ORIGINAL_MAX_POSITION_EMBEDDINGS);
    if (!(factor > 0 && context > 0 && base > 1))
        return br_fail(err, BR_E_CONFIG,
                       "config.json: YaRN with factor %g, original_max_position_embeddings %g and "
                       "theta %g is impossible",
                       factor, context, base);
    double low = correction_dim(br_cfg_f(cfg, BR_CFG_YARN_BETA_FAST), dim, base, context);
    double high = correction_dim(br_cfg_f(cfg, BR_CFG_YARN_BETA_SLOW), dim, base, context);
    if (br_cfg_i(cfg, BR_CFG_YARN_CORRECTION_RANGE_ROUND_TO_INT)) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, dim - 1);
    if (low == high)
        high += 0.001;
    for (int64_t c = 0; c < n; c++) {
        double ramp = fmin(fmax(((double)c - low) / (high - low), 0), 1);
        f[c] = (float)(f[c] / factor * ramp + f[c] * (1 - ramp));
    }
    *scale = cfg->rope_attention;
    return 0;
}

/* Wavelengths that fit often into the original context keep their frequency, those that fit less
 * than low_freq_factor times are divided by the factor, those between are blended (transformers
 * modeling_rope_utils, Megatron-LM rotary_pos_embedding.py _apply_scaling). */
static int rope_bands(const struct br_config *cfg, float *f, int64_t n, struct br_err *err)
{
    double factor = br_cfg_f(cfg, BR_CFG_ROPE_SCALING_FACTOR);
    double low = br_cfg_f(cfg, BR_CFG_ROPE_LOW_FREQ_FACTOR);
    double high = br_cfg_f(cfg, BR_CFG_ROPE_HIGH_FREQ_FACTOR);
    double context = (double)br_cfg_i(cfg, BR_CFG_ROPE_ORIGINAL_MAX_POSITION_EMBEDDINGS);
    if (!(factor > 0 && low > 0 && high > low && context > 0))
        return br_fail(
            err, BR_E_CONFIG,
            "config.json: rope scaling by factor %g, low_freq_factor %g, high_freq_factor "
            "%g, original_max_position_embeddings %g is impossible; expected positive "
            "numbers, the low factor below the high one",
            factor, low, high, context);
    for (int64_t c = 0; c < n; c++) {
        double turns = context * f[c] / (2 * PI); /* in the original context */
        double keep = fmin(fmax((turns - low) / (high - low), 0), 1);
        f[c] = (float)(f[c] / factor * (1 - keep) + f[c] * keep);
    }
    return 0;
}

int br__rope(const struct br_config *cfg, float *inv_freq, int64_t max, int64_t *n, double *scale,
             struct br_err *err)
{
    double channels =
        (double)br_cfg_i(cfg, BR_CFG_KV_CHANNELS) * br_cfg_f(cfg, BR_CFG_ROTARY_PERCENT);
    double base = br_cfg_f(cfg, BR_CFG_ROTARY_BASE);
    *n = (int64_t)channels / 2;
    *scale = 1;
    if (*n < 1 || *n > max || (int64_t)channels % 2 ||
        channels > (double)br_cfg_i(cfg, BR_CFG_KV_CHANNELS) || !(base > 0))
        return br_fail(err, BR_E_CONFIG,
                       "config.json: rotary embedding of %g channels with theta %g is impossible; "
                       "expected an even number up to head_dim",
                       channels, base);
    for (int64_t c = 0; c < *n; c++)
        inv_freq[c] = (float)(1.0 / pow(base, (double)c / (double)*n));
    const char *type = br_cfg_s(cfg, BR_CFG_POSITION_EMBEDDING_TYPE);
    if (type && !strcmp(type, "yarn"))
        return yarn(cfg, inv_freq, *n, scale, err);
    if (br_cfg_i(cfg, BR_CFG_ROPE_SCALING))
        return rope_bands(cfg, inv_freq, *n, err);
    return 0;
}
