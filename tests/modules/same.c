/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* same - a plugin built with the host's own header: loads.  Its check() refuses every config, which
 * is the caller's to report. */
#include "good.h"

static const struct br_field config[] = {
    BR_FACT(QK_LAYERNORM, 1),
    BR_FROM(HIDDEN_SIZE, "hidden_size"),
    BR_FACT_TEXT(MOE_ROUTER_DTYPE, "fp32"),
};
static const struct br_map maps[] = {GOOD_MAP};
static const struct br_ignore ignore[] = {{"model.rotary_emb.inv_freq"}};

static int check(struct br_config *cfg, struct br_err *err)
{
    (void)cfg;
    if (err)
        err->code = BR_E_CONFIG;
    return BR_E_CONFIG;
}

static const struct br_arch archs[] = {
    {
        .model_type = "same",
        .hf_class = "SameForCausalLM",
        .toy = GOOD_TOY,
        .config = BR_ROWS(config),
        .maps = BR_ROWS(maps),
        .ignore = BR_ROWS(ignore),
        .check = check,
    },
    /* A plugin may serve a model_type that is not its own name. */
    {.model_type = "same-v2",
     .hf_class = "SameV2ForCausalLM",
     .toy = GOOD_TOY,
     .maps = BR_ROWS(maps)},
};
static const struct br_recipe recipes[] = {{"same_pretrain_config", "pretrain", "tp=2"}};

BR_PLUGIN(same, archs, recipes)
