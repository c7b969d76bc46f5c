/* rope.c - rotary embedding: the frequency of each channel pair, per scaling method. */
#include "engine.h"
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

/* Blend of the plain frequencies (short wavelengths) and those divided by the factor (long ones).
 */
static void yarn(const struct br_config *cfg, float *f, int64_t n, double *scale)
{
    double dim = 2 * (double)n, base = br_cfg_f(cfg, BR_CFG_ROTARY_BASE);
    double factor = br_cfg_f(cfg, BR_CFG_YARN_ROTARY_SCALING_FACTOR);
    double context = br_cfg_f(cfg, BR_CFG_YARN_ORIGINAL_MAX_POSITION_EMBEDDINGS);
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
    double all = br_cfg_f(cfg, BR_CFG_YARN_MSCALE_ALL_DIM);
    double mscale = br_cfg_f(cfg, BR_CFG_YARN_MSCALE);
    *scale =
        all != 0 ? yarn_mscale(factor, mscale) / yarn_mscale(factor, all) : yarn_mscale(factor, 1);
}

int br__rope(const struct br_config *cfg, float *inv_freq, int64_t max, int64_t *n, double *scale,
             struct br_err *err)
{
    double channels =
        (double)br_cfg_i(cfg, BR_CFG_KV_CHANNELS) * br_cfg_f(cfg, BR_CFG_ROTARY_PERCENT);
    double base = br_cfg_f(cfg, BR_CFG_ROTARY_BASE);
    *n = (int64_t)channels / 2;
    *scale = 1;
    if (*n < 1 || *n > max || !(base > 0))
        return br_fail(err, BR_E_CONFIG,
                       "config.json: rotary embedding of %g channels with theta %g is impossible",
                       channels, base);
    for (int64_t c = 0; c < *n; c++)
        inv_freq[c] = (float)(1.0 / pow(base, (double)c / (double)*n));
    const char *type = br_cfg_s(cfg, BR_CFG_POSITION_EMBEDDING_TYPE);
    if (type && !strcmp(type, "yarn"))
        yarn(cfg, inv_freq, *n, scale);
    return 0;
}
